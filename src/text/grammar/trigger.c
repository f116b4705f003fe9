/* text/grammar/trigger: a grammar that begins in the middle of a text, right after the first place where some bytes
 * occur. Until then any text is allowed, and may end: before the rule of the whole text come states that count how many
 * bytes of the trigger the text ends with (Knuth, Morris, Pratt 1977).
 *
 *     0 -'<'-> 1 -'a'-> 2 -'>'-> the grammar        "<a>"; from each state other bytes lead to where they still count
 */
#ifndef HYB_TEXT_GRAMMAR_TRIGGER_C
#define HYB_TEXT_GRAMMAR_TRIGGER_C
#include "draft.c"

#define HYB_TRIGGER_LONGEST 255

typedef struct hyb_trigger {
    size_t size; /* 0: there is none */
    uint8_t text[HYB_TRIGGER_LONGEST];
    uint8_t back[HYB_TRIGGER_LONGEST]; /* of the first i + 1 bytes, how many of the last ones are also the first */
} hyb_trigger;

/* How many bytes of it a text ends with after one more, of which it ended with n < size before. */
static size_t hyb_trigger_next(const hyb_trigger *t, size_t n, uint8_t byte)
{
    while (n && t->text[n] != byte) n = t->back[n - 1];
    return n + (t->text[n] == byte);
}

static hybrid_result hyb_trigger_make(hyb_trigger *t, const char *text, hybrid_error *error)
{
    const size_t size = strlen(text);
    size_t i;
    if (!size || size > HYB_TRIGGER_LONGEST)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "the trigger of a grammar has %llu bytes: give 1 to %d",
                        (unsigned long long)size, HYB_TRIGGER_LONGEST);
    memcpy(t->text, text, size);
    for (i = 1; i < size; i++) t->back[i] = (uint8_t)hyb_trigger_next(t, t->back[i - 1], t->text[i]);
    t->size = size;
    return HYBRID_OK;
}

/* Puts it before rule 0, which others that call it go on to call without. */
static void hyb_trigger_before(const hyb_trigger *t, hyb_draft *draft)
{
    const uint32_t rule = (uint32_t)draft->n_rules, states = hyb_draft_positions(draft, t->size + 2),
                   end = states + (uint32_t)t->size + 1;
    size_t i;
    uint32_t from, to;
    if (!draft->failed)
        draft->failed = HYB_GROW(draft->rt, draft->rules, draft->rule_capacity, draft->n_rules, draft->n_rules + 1,
                                 draft->error);
    if (draft->failed) return;
    for (i = 0; i < draft->n_edges; i++)
        if (draft->edges[i].kind == HYB_EDGE_CALL && !draft->edges[i].low) draft->edges[i].low = rule;
    draft->rules[draft->n_rules++] = draft->rules[0];
    draft->rules[0].start = states;
    draft->rules[0].end = end;
    for (i = 0; i < t->size; i++) {
        hyb_draft_empty(draft, states + (uint32_t)i, end);
        for (from = 0; from < 256; from = to + 1) { /* runs of bytes that lead to one state */
            const size_t next = hyb_trigger_next(t, i, (uint8_t)from);
            for (to = from; to < 255 && hyb_trigger_next(t, i, (uint8_t)(to + 1)) == next;) to++;
            hyb_draft_edge(draft, states + (uint32_t)i, HYB_EDGE_BYTES, from, to, states + (uint32_t)next);
        }
    }
    hyb_draft_edge(draft, states + (uint32_t)t->size, HYB_EDGE_CALL, rule, rule, end);
}
#endif
