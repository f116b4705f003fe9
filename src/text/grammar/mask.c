/* text/grammar/mask: which tokens of a vocabulary a text may go on with. The bytes of all tokens are a tree, written
 * down in the order in which it is walked: a token's beginning that does not fit is left with all that begins with it.
 *
 * Nearly all tokens are plain: whole characters, none of which means anything in a JSON string. They are a tree of
 * their own, which is not walked where all plain characters lead to one state, that to one state, and so on: then only
 * their number matters. So in a string, of the whole vocabulary a twentieth is looked at. */
#ifndef HYB_TEXT_GRAMMAR_MASK_C
#define HYB_TEXT_GRAMMAR_MASK_C
#include "../../api/grammar.h"
#include "../../core/lifetime.c"
#include "../tokenizer/tokenizer.c"
#include "match.c"

typedef struct hyb_spelling {
    hybrid_string bytes;
    int32_t id;
} hyb_spelling;

typedef struct hyb_tree_node {
    uint32_t skip;  /* the first node after this one that is not below it */
    uint32_t token; /* the first that ends here, in the order of the tree; those of the next node end the list */
    uint32_t depth; /* bytes, this one included */
    uint8_t byte;
} hyb_tree_node;

typedef struct hyb_tree {
    hyb_tree_node *nodes; /* (n + 1) */
    int32_t *tokens;
    size_t n, capacity, n_tokens;
} hyb_tree;

struct hybrid_lexicon {
    hybrid_runtime *rt;
    hyb_tree plain, others;
    uint32_t *all_plain;    /* (n_words) a bit for each plain token */
    int32_t *by_length;     /* plain tokens in order of their characters */
    uint32_t *lengths;      /* (longest + 2) how many of them have fewer characters than each number */
    int32_t *ends;          /* tokens that end an answer */
    hyb_spelling *spelling; /* (n_tokens) of every token that is text; the bytes are in `bytes` */
    hyb_spelling *controls; /* (n_controls) names of control tokens that end no answer, by rising id */
    char *bytes;
    size_t n_tokens, n_words, n_ends, n_controls;
    uint32_t longest, deepest; /* characters of a plain token; bytes of any */
};

/* ---- the tree ---- */

static int hyb_spelling_order(const void *a, const void *b)
{
    const hyb_spelling *x = (const hyb_spelling *)a, *y = (const hyb_spelling *)b;
    const int order = memcmp(x->bytes.data, y->bytes.data, HYB_MIN(x->bytes.size, y->bytes.size));
    if (order) return order;
    if (x->bytes.size != y->bytes.size) return x->bytes.size < y->bytes.size ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The number of characters of a plain text; 0: it is not plain. */
static uint32_t hyb_plain_length(hybrid_string s)
{
    const char *p = s.data, *end = p + s.size;
    uint32_t n = 0, code = 0;
    for (; p < end; n++) {
        const size_t used = hyb_utf8_read(p, end, &code);
        if (!used || code < 0x20 || code == '"' || code == '\\' || code == 0x7F) return 0;
        p += used;
    }
    return n;
}

/* The tree of n spellings, which are put in order. */
static hybrid_result hyb_tree_make(hybrid_runtime *rt, hyb_tree *t, hyb_spelling *list, size_t n, uint32_t *open,
                                   hybrid_error *error)
{
    size_t i, depth = 0, k;
    hybrid_result r;
    if (n > 1) qsort(list, n, sizeof *list, hyb_spelling_order);
    if (!(t->tokens = (int32_t *)hyb_calloc(rt, n + 1, sizeof *t->tokens)))
        return hyb_fail_memory(error, (n + 1) * sizeof *t->tokens);
    t->n_tokens = n;
    for (i = 0; i < n; i++) {
        const hybrid_string s = list[i].bytes;
        size_t same = 0;
        while (i && same < s.size && same < list[i - 1].bytes.size && s.data[same] == list[i - 1].bytes.data[same])
            same++;
        for (k = same; k < depth; k++) t->nodes[open[k]].skip = (uint32_t)t->n;
        if ((r = HYB_GROW(rt, t->nodes, t->capacity, t->n, t->n + s.size + 1, error)) != HYBRID_OK) return r;
        for (k = same; k < s.size; k++) {
            hyb_tree_node *node = &t->nodes[open[k] = (uint32_t)t->n++];
            node->skip = 0;
            node->byte = (uint8_t)s.data[k];
            node->depth = (uint32_t)k + 1;
            node->token = (uint32_t)i;
        }
        depth = s.size;
        t->tokens[i] = list[i].id;
    }
    if ((r = HYB_GROW(rt, t->nodes, t->capacity, t->n, t->n + 1, error)) != HYBRID_OK) return r;
    for (k = 0; k < depth; k++) t->nodes[open[k]].skip = (uint32_t)t->n;
    memset(&t->nodes[t->n], 0, sizeof *t->nodes);
    t->nodes[t->n].token = (uint32_t)n;
    return HYBRID_OK;
}

/* ---- the lexicon ---- */

static void hyb_lexicon_free(hybrid_lexicon *x)
{
    hybrid_runtime *rt = x->rt;
    void *const blocks[] = { x->plain.nodes,
                             x->plain.tokens,
                             x->others.nodes,
                             x->others.tokens,
                             x->all_plain,
                             x->by_length,
                             x->lengths,
                             x->ends,
                             x->spelling,
                             x->controls,
                             x->bytes,
                             x };
    size_t i;
    for (i = 0; i < HYB_COUNT(blocks); i++) hyb_free(rt, blocks[i]);
    hyb_runtime_release(rt);
}

/* Copies the bytes of all tokens that are text, and lists those that end an answer. */
static hybrid_result hyb_lexicon_copy(hybrid_lexicon *x, const hybrid_tokenizer *tok, hybrid_error *error)
{
    size_t size = 0, at = 0, i;
    x->spelling = (hyb_spelling *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *x->spelling);
    x->ends = (int32_t *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *x->ends);
    x->controls = (hyb_spelling *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *x->controls);
    x->all_plain = (uint32_t *)hyb_calloc(x->rt, x->n_words + 1, sizeof *x->all_plain);
    x->by_length = (int32_t *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *x->by_length);
    for (i = 0; i < x->n_tokens; i++) size += hybrid_token_bytes(tok, (int32_t)i).size;
    x->bytes = (char *)hyb_alloc(x->rt, size);
    if (!x->spelling || !x->ends || !x->controls || !x->all_plain || !x->by_length || !x->bytes)
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for the bytes of %llu tokens",
                        (unsigned long long)x->n_tokens);
    for (i = 0; i < x->n_tokens; i++) {
        const hybrid_token_type kind = hybrid_token_kind(tok, (int32_t)i);
        const hybrid_string s = hybrid_token_bytes(tok, (int32_t)i);
        x->spelling[i].id = (int32_t)i;
        x->spelling[i].bytes.data = x->bytes + at;
        if (hybrid_token_is_end(tok, (int32_t)i)) {
            x->ends[x->n_ends++] = (int32_t)i;
            continue;
        }
        if (kind == HYBRID_TOKEN_UNKNOWN || kind == HYBRID_TOKEN_UNUSED || !s.size) continue;
        memcpy(x->bytes + at, s.data, s.size);
        at += s.size;
        if (kind == HYBRID_TOKEN_CONTROL) {
            x->controls[x->n_controls] = x->spelling[i];
            x->controls[x->n_controls++].bytes.size = s.size;
            continue;
        }
        x->spelling[i].bytes.size = s.size;
        x->deepest = HYB_MAX(x->deepest, (uint32_t)s.size);
        x->longest = HYB_MAX(x->longest, hyb_plain_length(x->spelling[i].bytes));
    }
    return HYBRID_OK;
}

/* Sorts the plain ones by their characters: first counts, then places. */
static hybrid_result hyb_lexicon_measure(hybrid_lexicon *x, hybrid_error *error)
{
    size_t i;
    if (!(x->lengths = (uint32_t *)hyb_calloc(x->rt, (size_t)x->longest + 3, sizeof *x->lengths)))
        return hyb_fail_memory(error, ((size_t)x->longest + 3) * sizeof *x->lengths);
    for (i = 0; i < x->n_tokens; i++) {
        const uint32_t n = hyb_plain_length(x->spelling[i].bytes);
        if (n) x->lengths[n + 2]++;
        if (n) x->all_plain[i / 32] |= 1u << i % 32;
    }
    for (i = 1; i < (size_t)x->longest + 3; i++) x->lengths[i] += x->lengths[i - 1];
    for (i = 0; i < x->n_tokens; i++) {
        const uint32_t n = hyb_plain_length(x->spelling[i].bytes);
        if (n) x->by_length[x->lengths[n + 1]++] = (int32_t)i;
    }
    return HYBRID_OK;
}

/* The name of a control token, or nothing. */
static hybrid_string hyb_lexicon_control(const hybrid_lexicon *x, int32_t id)
{
    const hybrid_string none = { NULL, 0 };
    size_t low = 0, high = x->n_controls;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (x->controls[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < x->n_controls && x->controls[low].id == id ? x->controls[low].bytes : none;
}

static hybrid_result hyb_lexicon_build(hybrid_lexicon *x, const hybrid_tokenizer *tok, hybrid_error *error)
{
    hyb_spelling *list;
    uint32_t *open;
    size_t plain = 0, others, i;
    hybrid_result r;
    x->n_tokens = (size_t)hybrid_vocab_size(tok);
    x->n_words = (x->n_tokens + 31) / 32;
    if ((r = hyb_lexicon_copy(x, tok, error)) != HYBRID_OK || (r = hyb_lexicon_measure(x, error)) != HYBRID_OK)
        return r;
    list = (hyb_spelling *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *list);
    open = (uint32_t *)hyb_calloc(x->rt, (size_t)x->deepest + 1, sizeof *open);
    if (!list || !open) r = hyb_fail_memory(error, (x->n_tokens + 1) * sizeof *list);
    for (i = 0, others = x->n_tokens; i < x->n_tokens && !r;
         i++) /* plain ones from the front, the others from the end */
        if (x->spelling[i].bytes.size) list[x->all_plain[i / 32] >> i % 32 & 1 ? plain++ : --others] = x->spelling[i];
    if (!r) r = hyb_tree_make(x->rt, &x->plain, list, plain, open, error);
    if (!r) r = hyb_tree_make(x->rt, &x->others, list + others, x->n_tokens - others, open, error);
    hyb_free(x->rt, list);
    hyb_free(x->rt, open);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_lexicon_create,
           (const hybrid_tokenizer *tokenizer, hybrid_lexicon **lexicon, hybrid_error *error),
           (tokenizer, lexicon, error))
{
    hybrid_lexicon *x;
    hybrid_runtime *rt;
    hybrid_result r;
    if (lexicon) *lexicon = NULL;
    if (!tokenizer || !lexicon)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_lexicon_create: %s is NULL",
                        tokenizer ? "lexicon" : "tokenizer");
    if ((r = hyb_runtime_retain(tokenizer->rt, &rt, error)) != HYBRID_OK) return r;
    if (!(x = (hybrid_lexicon *)hyb_calloc(rt, 1, sizeof *x))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *x);
    }
    x->rt = rt;
    if ((r = hyb_lexicon_build(x, tokenizer, error)) != HYBRID_OK) {
        hyb_lexicon_free(x);
        return r;
    }
    *lexicon = x;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_lexicon_destroy, (hybrid_lexicon * lexicon), (lexicon))
{
    if (lexicon) hyb_lexicon_free(lexicon);
}

/* ---- plain characters ---- */

enum { HYB_PLAIN_STATES = 8 };

/* The states that bytes low..high lead to from some states; false: more than a few, or no memory. */
static bool hyb_plain_advance(hyb_match *m, const uint32_t *from, int n_from, int low, int high, uint32_t *to,
                              int *n_to)
{
    int i, k, b;
    uint32_t next;
    *n_to = 0;
    for (i = 0; i < n_from; i++)
        for (b = low; b <= high; b++) {
            if (b > low && m->rules->class_of[b] == m->rules->class_of[b - 1]) continue;
            if (hyb_match_next(m, from[i], (uint8_t)b, &next, NULL)) return false;
            for (k = 0; k < *n_to && to[k] != next; k++) {}
            if (k == HYB_PLAIN_STATES) return false;
            if (k == *n_to) to[(*n_to)++] = next;
        }
    return true;
}

/* Whether all plain characters lead from a state to one other (or to none: HYB_MATCH_DEAD). */
static bool hyb_plain_same(hyb_match *m, uint32_t state, uint32_t *next)
{
    static const uint8_t ascii[3][2] = { { 0x20, 0x21 }, { 0x23, 0x5B }, { 0x5D, 0x7E } };
    static const uint8_t longer[8][5] = { { 0xC2, 0xDF, 0x80, 0xBF, 0 }, { 0xE0, 0xE0, 0xA0, 0xBF, 1 },
                                          { 0xE1, 0xEC, 0x80, 0xBF, 1 }, { 0xED, 0xED, 0x80, 0x9F, 1 },
                                          { 0xEE, 0xEF, 0x80, 0xBF, 1 }, { 0xF0, 0xF0, 0x90, 0xBF, 2 },
                                          { 0xF1, 0xF3, 0x80, 0xBF, 2 }, { 0xF4, 0xF4, 0x80, 0x8F, 2 } };
    uint32_t a[HYB_PLAIN_STATES], b[HYB_PLAIN_STATES];
    int n, i, k;
    if (hyb_match_next(m, state, ' ', next, NULL)) return false;
    for (i = 0; i < 3; i++)
        if (!hyb_plain_advance(m, &state, 1, ascii[i][0], ascii[i][1], a, &n) || n != 1 || a[0] != *next) return false;
    for (i = 0; i < 8; i++) {
        if (!hyb_plain_advance(m, &state, 1, longer[i][0], longer[i][1], a, &n) ||
            !hyb_plain_advance(m, a, n, longer[i][2], longer[i][3], b, &n))
            return false;
        for (k = 0; k < longer[i][4]; k++) {
            memcpy(a, b, sizeof a);
            if (!hyb_plain_advance(m, a, n, 0x80, 0xBF, b, &n)) return false;
        }
        if (n != 1 || b[0] != *next) return false;
    }
    return true;
}

/* How many plain characters may follow, whichever they are; false: that depends on them. */
static bool hyb_plain_room(hyb_match *m, uint32_t state, uint32_t most, uint32_t *room)
{
    uint32_t next;
    for (*room = 0; *room < most; ++*room, state = next) {
        if (!hyb_plain_same(m, state, &next)) return false;
        if (next == HYB_MATCH_DEAD) return true;
        if (next == state) *room = most - 1;
    }
    return true;
}

/* ---- masks ---- */

/* Sets the bits of the tokens of a tree that fit. stack: (deepest + 1) states. */
static hybrid_result hyb_mask_walk(hyb_match *m, const hyb_tree *t, uint32_t *stack, uint32_t *mask, uint64_t *visited,
                                   hybrid_error *error)
{
    hybrid_result r;
    uint32_t i, k, next;
    for (i = 0; i < t->n; ++*visited) {
        const hyb_tree_node *node = &t->nodes[i];
        if ((r = hyb_match_next(m, stack[node->depth - 1], node->byte, &next, error)) != HYBRID_OK) return r;
        if (next == HYB_MATCH_DEAD) {
            i = node->skip;
            continue;
        }
        stack[node->depth] = next;
        for (k = node->token; k < t->nodes[i + 1].token; k++) mask[t->tokens[k] / 32] |= 1u << t->tokens[k] % 32;
        i++;
    }
    return HYBRID_OK;
}

/* Sets the bits of the control tokens whose names fit. */
static hybrid_result hyb_mask_controls(hyb_match *m, uint32_t state, const hybrid_lexicon *x, uint32_t *mask,
                                       hybrid_error *error)
{
    size_t i, k;
    hybrid_result r;
    for (i = 0; i < x->n_controls; i++) {
        const hyb_spelling *c = &x->controls[i];
        uint32_t at = state;
        for (k = 0; k < c->bytes.size && at != HYB_MATCH_DEAD; k++)
            if ((r = hyb_match_next(m, at, (uint8_t)c->bytes.data[k], &at, error)) != HYBRID_OK) return r;
        if (at != HYB_MATCH_DEAD) mask[c->id / 32] |= 1u << c->id % 32;
    }
    return HYBRID_OK;
}

/* The tokens that a text in this state may go on with, into mask (n_words). controls: they are text, too. */
static hybrid_result hyb_mask_fill(hyb_match *m, uint32_t state, const hybrid_lexicon *x, bool controls,
                                   uint32_t *stack, uint32_t *mask, uint64_t *visited, hybrid_error *error)
{
    uint32_t room = 0, i;
    hybrid_result r = HYBRID_OK;
    stack[0] = state;
    memset(mask, 0, x->n_words * sizeof *mask);
    if (!hyb_plain_room(m, state, x->longest, &room))
        r = hyb_mask_walk(m, &x->plain, stack, mask, visited, error);
    else if (2 * x->lengths[room + 1] > x->plain.n_tokens) { /* most of them: all but the longer ones */
        memcpy(mask, x->all_plain, x->n_words * sizeof *mask);
        for (i = x->lengths[room + 1]; i < x->plain.n_tokens; i++)
            mask[x->by_length[i] / 32] &= ~(1u << x->by_length[i] % 32);
    } else
        for (i = 0; i < x->lengths[room + 1]; i++) mask[x->by_length[i] / 32] |= 1u << x->by_length[i] % 32;
    if (!r) r = hyb_mask_walk(m, &x->others, stack, mask, visited, error);
    if (!r && controls) r = hyb_mask_controls(m, state, x, mask, error);
    for (i = 0; i < x->n_ends && !r && hyb_match_end(m, state); i++) mask[x->ends[i] / 32] |= 1u << x->ends[i] % 32;
    return r;
}
#endif
