/* text/grammar/rules: the form in which rules are matched. Characters have become bytes; what no text can come of is
 * gone; for each rule it is known whether nothing is a text of it; and rules that begin with themselves are refused, so
 * that those that can be entered at one place have an order (rank), the outer ones first.
 * Everything here takes time that grows with the size of the network. */
#ifndef HYB_TEXT_GRAMMAR_RULES_C
#define HYB_TEXT_GRAMMAR_RULES_C
#include "draft.c"

enum { HYB_AT_END = 1, HYB_AT_LAST = 2, HYB_AT_BYTES = 4 };

typedef struct hyb_rule {
    uint32_t start, rank;
    bool nullable;
} hyb_rule;

typedef struct hyb_rule_step { /* an edge, those of a position side by side */
    uint8_t kind, low, high;
    uint32_t to, rule;
} hyb_rule_step;

typedef struct hyb_rules {
    hybrid_runtime *rt;
    uint32_t *begin; /* (n + 1) first step of each position */
    uint8_t *at;     /* (n) HYB_AT_END: a rule ends here; _LAST: and nothing else can happen; _BYTES: bytes follow */
    hyb_rule_step *steps;
    hyb_rule *rules;
    size_t n, n_steps, n_rules;
    uint8_t class_of[256];   /* bytes that no step tells apart */
    uint8_t class_byte[256]; /* one of each class */
    uint32_t n_classes;
} hyb_rules;

static void hyb_rules_free(hyb_rules *r)
{
    hyb_free(r->rt, r->begin);
    hyb_free(r->rt, r->at);
    hyb_free(r->rt, r->steps);
    hyb_free(r->rt, r->rules);
    memset(r, 0, sizeof *r);
}

/* ---- characters to bytes ---- */

/* Where a character goes on after its first bytes: tail[k] takes k more bytes, any, and leads to `to`. */
typedef struct hyb_tails {
    uint32_t to, tail[4];
} hyb_tails;

static uint32_t hyb_tail(hyb_draft *draft, hyb_tails *t, int k)
{
    int i;
    for (i = 1; i <= k; i++)
        if (t->tail[i] == HYB_DRAFT_NONE) {
            t->tail[i] = hyb_draft_positions(draft, 1);
            hyb_draft_edge(draft, t->tail[i], HYB_EDGE_BYTES, 0x80, 0xBF, t->tail[i - 1]);
        }
    return t->tail[k];
}

/* A block of code points that are all sequences of: byte i from first[i] to last[i]. */
static void hyb_lower_block(hyb_draft *draft, uint32_t from, uint32_t low, uint32_t high, hyb_tails *t)
{
    char first[4], last[4];
    const size_t n = hyb_utf8_write(low, first);
    size_t i, j;
    hyb_utf8_write(high, last);
    for (i = 0; i < n; i++) {
        const uint32_t a = (uint8_t)first[i], b = (uint8_t)last[i];
        bool any = true;
        uint32_t next;
        for (j = i + 1; j < n; j++) any = any && (uint8_t)first[j] == 0x80 && (uint8_t)last[j] == 0xBF;
        next = any ? hyb_tail(draft, t, (int)(n - 1 - i)) : hyb_draft_positions(draft, 1);
        hyb_draft_edge(draft, from, HYB_EDGE_BYTES, a, b, next);
        if (any) return;
        from = next;
    }
}

/* Code points low..high of one length in UTF-8, cut into such blocks. */
static void hyb_lower_length(hyb_draft *draft, uint32_t from, uint32_t low, uint32_t high, int n, hyb_tails *t)
{
    uint32_t todo[16][2];
    int depth = 0, i;
    todo[depth][0] = low;
    todo[depth++][1] = high;
    while (depth && !draft->failed) {
        uint32_t a = todo[--depth][0], b = todo[depth][1], cut = 0;
        for (i = 1; i < n && !cut; i++) {
            const uint32_t m = (1u << 6 * i) - 1;
            if ((a & ~m) == (b & ~m)) continue;
            if (a & m)
                cut = (a | m) + 1;
            else if ((b & m) != m)
                cut = b & ~m;
        }
        if (!cut) {
            hyb_lower_block(draft, from, a, b, t);
            continue;
        }
        todo[depth][0] = cut;
        todo[depth++][1] = b;
        todo[depth][0] = a;
        todo[depth++][1] = cut - 1;
    }
}

/* The same for any code points, without the surrogates, which no text has. */
static void hyb_lower(hyb_draft *draft, uint32_t from, uint32_t low, uint32_t high, hyb_tails *t)
{
    static const uint32_t part[5][3] = {
        { 0, 0x7F, 1 }, { 0x80, 0x7FF, 2 }, { 0x800, 0xD7FF, 3 }, { 0xE000, 0xFFFF, 3 }, { 0x10000, 0x10FFFF, 4 }
    };
    size_t i;
    for (i = 0; i < HYB_COUNT(part); i++) {
        const uint32_t a = HYB_MAX(low, part[i][0]), b = HYB_MIN(high, part[i][1]);
        if (a <= b) hyb_lower_length(draft, from, a, b, (int)part[i][2], t);
    }
}

/* All edges that take characters. */
static hybrid_result hyb_rules_lower(hyb_draft *draft)
{
    const size_t n = draft->n;
    hyb_tails t;
    size_t p;
    uint32_t e, next;
    memset(&t, 0xFF, sizeof t);
    for (p = 0; p < n && !draft->failed; p++)
        for (e = draft->first[p], draft->first[p] = HYB_DRAFT_NONE; e != HYB_DRAFT_NONE && !draft->failed; e = next) {
            const hyb_edge edge = draft->edges[e];
            next = edge.next;
            if (edge.kind != HYB_EDGE_CHARS) {
                draft->edges[e].next = draft->first[p];
                draft->first[p] = e;
                continue;
            }
            if (t.to != edge.to) {
                memset(&t, 0xFF, sizeof t);
                t.to = t.tail[0] = edge.to;
            }
            hyb_lower(draft, (uint32_t)p, edge.low, edge.high, &t);
        }
    return draft->failed;
}

/* ---- what can come of a position ---- */

typedef struct hyb_survey {
    hybrid_runtime *rt;
    hyb_draft *draft;
    uint32_t *starts, *ends;         /* (n) the rule that starts or ends at a position */
    uint32_t *from;                  /* (n_edges) where each edge comes from */
    uint32_t *into, *into_begin;     /* edges that lead into a position */
    uint32_t *caller, *caller_begin; /* edges that call a rule */
    uint32_t *left, *left_begin;     /* rules that a rule can begin with */
    uint32_t *owner;                 /* (n) the rule that is at this position before its first byte */
    uint32_t *pending;               /* (n) edges of a position that lead on */
    uint32_t *queue;
    uint8_t *alive, *rule_alive, *rule_nullable;
} hyb_survey;

static void hyb_survey_free(hyb_survey *s)
{
    void *const blocks[] = { s->starts,  s->ends,         s->from,  s->into,       s->into_begin,
                             s->caller,  s->caller_begin, s->left,  s->left_begin, s->owner,
                             s->pending, s->queue,        s->alive, s->rule_alive, s->rule_nullable };
    size_t i;
    for (i = 0; i < HYB_COUNT(blocks); i++) hyb_free(s->rt, blocks[i]);
}

static uint32_t *hyb_survey_block(hyb_survey *s, size_t n, int byte, bool *ok)
{
    uint32_t *p = *ok ? (uint32_t *)hyb_calloc(s->rt, n + 2, sizeof *p) : NULL;
    if (p && byte) memset(p, byte, (n + 2) * sizeof *p);
    *ok = *ok && p;
    return p;
}

/* Lists of edges, for each position they lead to or for each rule they call: first counts, then places. */
static void hyb_survey_sort(const hyb_survey *s, bool calls, uint32_t *begin, size_t n, uint32_t *list)
{
    const hyb_edge *edges = s->draft->edges;
    size_t e, i;
    for (e = 0; e < s->draft->n_edges; e++)
        if (s->from[e] != HYB_DRAFT_NONE && (!calls || edges[e].kind == HYB_EDGE_CALL))
            begin[(calls ? edges[e].low : edges[e].to) + 2]++;
    for (i = 2; i < n + 2; i++) begin[i] += begin[i - 1];
    for (e = 0; e < s->draft->n_edges; e++)
        if (s->from[e] != HYB_DRAFT_NONE && (!calls || edges[e].kind == HYB_EDGE_CALL))
            list[begin[(calls ? edges[e].low : edges[e].to) + 1]++] = (uint32_t)e;
}

static hybrid_result hyb_survey_begin(hyb_survey *s, hyb_draft *draft)
{
    const size_t n = draft->n, m = draft->n_edges, k = draft->n_rules;
    bool ok = true;
    size_t p;
    uint32_t e;
    memset(s, 0, sizeof *s);
    s->rt = draft->rt;
    s->draft = draft;
    s->starts = hyb_survey_block(s, n, 0xFF, &ok);
    s->ends = hyb_survey_block(s, n, 0xFF, &ok);
    s->from = hyb_survey_block(s, m, 0xFF, &ok);
    s->into = hyb_survey_block(s, m, 0, &ok);
    s->into_begin = hyb_survey_block(s, n, 0, &ok);
    s->caller = hyb_survey_block(s, m, 0, &ok);
    s->caller_begin = hyb_survey_block(s, k, 0, &ok);
    s->left = hyb_survey_block(s, m, 0, &ok);
    s->left_begin = hyb_survey_block(s, k, 0, &ok);
    s->owner = hyb_survey_block(s, n, 0xFF, &ok);
    s->pending = hyb_survey_block(s, n, 0, &ok);
    s->queue = hyb_survey_block(s, HYB_MAX(n, k), 0, &ok);
    s->alive = (uint8_t *)(ok ? hyb_calloc(s->rt, n + 1, 1) : NULL);
    s->rule_alive = (uint8_t *)(ok ? hyb_calloc(s->rt, k + 1, 1) : NULL);
    s->rule_nullable = (uint8_t *)(ok ? hyb_calloc(s->rt, k + 1, 1) : NULL);
    if (!ok || !s->alive || !s->rule_alive || !s->rule_nullable)
        return hyb_fail(draft->error, HYBRID_ERROR_MEMORY, "out of memory for a grammar of %llu positions",
                        (unsigned long long)n);
    for (p = 0; p < k; p++) {
        s->starts[draft->rules[p].start] = (uint32_t)p;
        s->ends[draft->rules[p].end] = (uint32_t)p;
    }
    for (p = 0; p < n; p++)
        for (e = draft->first[p]; e != HYB_DRAFT_NONE; e = draft->edges[e].next) s->from[e] = (uint32_t)p;
    hyb_survey_sort(s, false, s->into_begin, n, s->into);
    hyb_survey_sort(s, true, s->caller_begin, k, s->caller);
    return HYBRID_OK;
}

/* Marks the positions from which the end of their rule can be reached, and the rules that a text can come of. */
static void hyb_survey_alive(hyb_survey *s)
{
    const hyb_draft *draft = s->draft;
    size_t head = 0, tail = 0, r;
    uint32_t i;
    for (r = 0; r < draft->n_rules; r++) s->queue[tail++] = draft->rules[r].end;
    for (r = 0; r < draft->n_rules; r++) s->alive[draft->rules[r].end] = 1;
    while (head < tail) {
        const uint32_t p = s->queue[head++], rule = s->starts[p];
        for (i = s->into_begin[p]; i < s->into_begin[p + 1]; i++) {
            const hyb_edge *e = &draft->edges[s->into[i]];
            const uint32_t from = s->from[s->into[i]];
            if (s->alive[from] || (e->kind == HYB_EDGE_CALL && !s->rule_alive[e->low])) continue;
            s->alive[from] = 1;
            s->queue[tail++] = from;
        }
        if (rule == HYB_DRAFT_NONE || s->rule_alive[rule]) continue;
        s->rule_alive[rule] = 1;
        for (i = s->caller_begin[rule]; i < s->caller_begin[rule + 1]; i++) { /* those that waited for it */
            const uint32_t e = s->caller[i], from = s->from[e];
            if (s->alive[from] || !s->alive[draft->edges[e].to]) continue;
            s->alive[from] = 1;
            s->queue[tail++] = from;
        }
    }
}

/* Takes out the edges that lead to where nothing ends. */
static void hyb_survey_prune(hyb_survey *s)
{
    hyb_draft *draft = s->draft;
    size_t p;
    uint32_t e, next;
    for (p = 0; p < draft->n; p++)
        for (e = draft->first[p], draft->first[p] = HYB_DRAFT_NONE; e != HYB_DRAFT_NONE; e = next) {
            hyb_edge *edge = &draft->edges[e];
            next = edge->next;
            if (!s->alive[edge->to] || (edge->kind == HYB_EDGE_CALL && !s->rule_alive[edge->low])) {
                s->from[e] = HYB_DRAFT_NONE;
                continue;
            }
            edge->next = draft->first[p];
            draft->first[p] = e;
        }
}

static void hyb_survey_reach(hyb_survey *s, uint32_t p, uint32_t owner, size_t *tail)
{
    if (s->owner[p] != HYB_DRAFT_NONE) return;
    s->owner[p] = owner;
    s->queue[(*tail)++] = p;
}

/* Which positions a rule reaches before its first byte, and so which rules are done before it. */
static void hyb_survey_nullable(hyb_survey *s)
{
    const hyb_draft *draft = s->draft;
    size_t head = 0, tail = 0, r;
    uint32_t i, e;
    for (r = 0; r < draft->n_rules; r++) hyb_survey_reach(s, draft->rules[r].start, (uint32_t)r, &tail);
    while (head < tail) {
        const uint32_t p = s->queue[head++], owner = s->owner[p], rule = s->ends[p];
        for (e = draft->first[p]; e != HYB_DRAFT_NONE; e = draft->edges[e].next) {
            const hyb_edge *edge = &draft->edges[e];
            if (edge->kind == HYB_EDGE_EMPTY || (edge->kind == HYB_EDGE_CALL && s->rule_nullable[edge->low]))
                hyb_survey_reach(s, edge->to, owner, &tail);
        }
        if (rule == HYB_DRAFT_NONE || s->rule_nullable[rule]) continue;
        s->rule_nullable[rule] = 1;
        for (i = s->caller_begin[rule]; i < s->caller_begin[rule + 1]; i++) { /* those that waited for it */
            e = s->caller[i];
            if (s->from[e] != HYB_DRAFT_NONE && s->owner[s->from[e]] != HYB_DRAFT_NONE)
                hyb_survey_reach(s, draft->edges[e].to, s->owner[s->from[e]], &tail);
        }
    }
}

/* The rules that each rule can begin with. */
static void hyb_survey_left(hyb_survey *s)
{
    const hyb_draft *draft = s->draft;
    const uint32_t *from = s->from;
    size_t e, i;
    uint32_t owner;
    for (e = 0; e < draft->n_edges; e++)
        if (draft->edges[e].kind == HYB_EDGE_CALL && from[e] != HYB_DRAFT_NONE &&
            (owner = s->owner[from[e]]) != HYB_DRAFT_NONE)
            s->left_begin[owner + 2]++;
    for (i = 2; i < draft->n_rules + 2; i++) s->left_begin[i] += s->left_begin[i - 1];
    for (e = 0; e < draft->n_edges; e++)
        if (draft->edges[e].kind == HYB_EDGE_CALL && from[e] != HYB_DRAFT_NONE &&
            (owner = s->owner[from[e]]) != HYB_DRAFT_NONE)
            s->left[s->left_begin[owner + 1]++] = draft->edges[e].low;
}

/* Gives each rule its rank: after all those that can begin with it. Returns a rule that can begin with itself, or
 * HYB_DRAFT_NONE. */
static uint32_t hyb_survey_rank(hyb_survey *s, hyb_rule *rules)
{
    const size_t k = s->draft->n_rules;
    uint32_t *waits = s->pending, i; /* for how many rules each waits; a position at least belongs to each rule */
    size_t head = 0, tail = 0, r;
    memset(waits, 0, (s->draft->n + 2) * sizeof *waits);
    for (i = 0; i < s->left_begin[k]; i++) waits[s->left[i]]++;
    for (r = 0; r < k; r++)
        if (!waits[r]) s->queue[tail++] = (uint32_t)r;
    while (head < tail) {
        const uint32_t rule = s->queue[head];
        rules[rule].rank = (uint32_t)head++;
        for (i = s->left_begin[rule]; i < s->left_begin[rule + 1]; i++)
            if (!--waits[s->left[i]]) s->queue[tail++] = s->left[i];
    }
    for (r = 0; r < k && !waits[r]; r++) {}
    if (r == k) return HYB_DRAFT_NONE;
    for (head = 0; head < k; head++) /* each rule that waits does so for one that does too: back and back in a circle */
        for (i = s->left_begin[head]; i < s->left_begin[head + 1] && waits[head]; i++)
            if (waits[s->left[i]]) s->queue[s->left[i]] = (uint32_t)head;
    for (head = 0; head < k; head++) r = s->queue[r];
    return (uint32_t)r;
}

/* ---- the finished form ---- */

/* Marks positions after which nothing can happen but the end of their rule. */
static void hyb_rules_last(hyb_rules *r, hyb_survey *s)
{
    const hyb_draft *draft = s->draft;
    size_t head = 0, tail = 0, p;
    uint32_t e, i;
    for (p = 0; p < draft->n; p++)
        for (s->pending[p] = 0, e = draft->first[p]; e != HYB_DRAFT_NONE; e = draft->edges[e].next) s->pending[p]++;
    for (p = 0; p < draft->n_rules; p++) {
        r->at[draft->rules[p].end] = HYB_AT_END | HYB_AT_LAST;
        s->queue[tail++] = draft->rules[p].end;
    }
    while (head < tail) {
        const uint32_t at = s->queue[head++];
        for (i = s->into_begin[at]; i < s->into_begin[at + 1]; i++) {
            e = s->into[i];
            if (s->from[e] == HYB_DRAFT_NONE || draft->edges[e].kind != HYB_EDGE_EMPTY || --s->pending[s->from[e]])
                continue;
            r->at[s->from[e]] |= HYB_AT_LAST;
            s->queue[tail++] = s->from[e];
        }
    }
}

/* Steps side by side, and the classes of bytes. */
static void hyb_rules_lay(hyb_rules *r, const hyb_draft *draft)
{
    bool cut[257];
    size_t p, n = 0;
    uint32_t e;
    int b;
    memset(cut, 0, sizeof cut);
    for (p = 0; p < draft->n; p++) {
        r->begin[p] = (uint32_t)n;
        for (e = draft->first[p]; e != HYB_DRAFT_NONE; e = draft->edges[e].next) {
            const hyb_edge *edge = &draft->edges[e];
            hyb_rule_step *step = &r->steps[n++];
            step->kind = (uint8_t)edge->kind;
            step->to = edge->to;
            if (edge->kind == HYB_EDGE_CALL) step->rule = edge->low;
            if (edge->kind != HYB_EDGE_BYTES) continue;
            step->low = (uint8_t)edge->low;
            step->high = (uint8_t)edge->high;
            cut[edge->low] = cut[edge->high + 1] = true;
            r->at[p] |= HYB_AT_BYTES;
        }
    }
    r->begin[draft->n] = (uint32_t)n;
    for (b = 0; b < 256; b++) {
        if (!b || cut[b]) r->class_byte[r->n_classes++] = (uint8_t)b;
        r->class_of[b] = (uint8_t)(r->n_classes - 1);
    }
}

static hybrid_result hyb_rules_fill(hyb_rules *r, hyb_survey *s, uint32_t *circle)
{
    const hyb_draft *draft = s->draft;
    size_t i;
    r->n = draft->n;
    r->n_steps = draft->n_edges;
    r->n_rules = draft->n_rules;
    r->begin = (uint32_t *)hyb_calloc(r->rt, r->n + 1, sizeof *r->begin);
    r->at = (uint8_t *)hyb_calloc(r->rt, r->n, 1);
    r->steps = (hyb_rule_step *)hyb_calloc(r->rt, r->n_steps, sizeof *r->steps);
    r->rules = (hyb_rule *)hyb_calloc(r->rt, r->n_rules, sizeof *r->rules);
    if (!r->begin || !r->at || !r->steps || !r->rules)
        return hyb_fail(draft->error, HYBRID_ERROR_MEMORY, "out of memory for a grammar of %llu positions",
                        (unsigned long long)r->n);
    *circle = hyb_survey_rank(s, r->rules);
    for (i = 0; i < r->n_rules; i++) {
        r->rules[i].start = draft->rules[i].start;
        r->rules[i].nullable = s->rule_nullable[i] != 0;
    }
    hyb_rules_last(r, s);
    hyb_rules_lay(r, draft);
    return HYBRID_OK;
}

/* Makes the rules of a network, all of whose rules have a start and an end of their own; rule 0 is the whole text.
 * draft is used up, but not freed. *circle: a rule that begins with itself, which the caller names and refuses, or
 * HYB_DRAFT_NONE. *empty: no text can come of rule 0. */
static hybrid_result hyb_rules_make(hyb_draft *draft, hyb_rules *rules, uint32_t *circle, bool *empty)
{
    hyb_survey s;
    hybrid_result r;
    memset(rules, 0, sizeof *rules);
    rules->rt = draft->rt;
    *circle = HYB_DRAFT_NONE;
    if ((r = draft->failed) != HYBRID_OK || (r = hyb_rules_lower(draft)) != HYBRID_OK) return r;
    r = hyb_survey_begin(&s, draft);
    if (!r) {
        hyb_survey_alive(&s);
        *empty = !s.rule_alive[0];
        hyb_survey_nullable(&s);
        hyb_survey_left(&s);
        hyb_survey_prune(&s);
        r = hyb_rules_fill(rules, &s, circle);
    }
    hyb_survey_free(&s);
    if (r) hyb_rules_free(rules);
    return r;
}
#endif
