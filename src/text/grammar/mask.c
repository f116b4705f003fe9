/* text/grammar/mask: which tokens of a vocabulary a text may go on with. They are found as ranges of the lexicon's
 * lists, and become bits only when no mask is known that came of the same ranges: a string that may have so many
 * characters more allows what it would with one less, until its end is near. */
#ifndef HYB_TEXT_GRAMMAR_MASK_C
#define HYB_TEXT_GRAMMAR_MASK_C
#include "../../core/lifetime.c"
#include "lexicon.c"
#include "match.c"

enum {
    HYB_ALLOWED_RANGES = 2048, /* of a mask that can be found again by them */
    HYB_BRANCH_TOKENS = 32,    /* below a node that is not deep: it is worth a look at its room */
    HYB_BRANCH_DEPTH = 3,
    HYB_SINGLE_TOKENS = 1024   /* that are tried one by one in a tree of shapes, where a shape does not tell */
};

/* Tokens lists[first..end) of a lexicon. */
typedef struct hyb_stretch {
    uint32_t first, end;
} hyb_stretch;

/* What a state allows, while it is found. */
typedef struct hyb_allowed {
    hyb_match *m;
    const hybrid_lexicon *x;
    uint32_t *stack; /* (deepest + 1) states */
    uint32_t *mask;  /* (n_words) takes the ranges when there are too many: then it is `filled` */
    hyb_stretch *ranges;
    size_t n;
    bool filled;
    uint64_t visited;
    hybrid_error *error;
} hyb_allowed;

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
static bool hyb_plain_look(hyb_match *m, uint32_t state, uint32_t *next)
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

/* The same, looked at once. */
static bool hyb_plain_same(hyb_match *m, uint32_t state, uint32_t *next)
{
    if (m->plain[state] == HYB_MATCH_UNKNOWN) {
        const bool same = hyb_plain_look(m, state, next);
        m->plain[state] = same ? *next : HYB_MATCH_UNEQUAL;
    }
    *next = m->plain[state];
    return *next != HYB_MATCH_UNEQUAL;
}

/* How many plain characters may follow, whichever they are, `most` at most; false: with more, that depends on them. */
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

/* Whether all that is below a node of a tree of plain tokens fits after a state: its height in bytes, which is not less
 * than in characters, is what is asked for. In the middle of a character there is no room. */
static bool hyb_allowed_below(hyb_allowed *a, const hyb_tree *t, const hyb_tree_node *node, uint32_t state)
{
    uint32_t room;
    if (node->depth > HYB_BRANCH_DEPTH || t->nodes[node->skip].token - node->token < HYB_BRANCH_TOKENS) return false;
    hyb_plain_room(a->m, state, node->height, &room);
    return room == node->height && room < 255;
}

/* ---- ranges ---- */

/* Ranges become bits. */
static void hyb_allowed_fill(const hybrid_lexicon *x, const hyb_stretch *ranges, size_t n, uint32_t *mask)
{
    const int32_t *lists = x->lists;
    uint32_t i;
    for (; n; n--, ranges++) {
        if (!ranges->first && 2 * (size_t)ranges->end > x->n_plain) { /* plain ones by length: most of them */
            for (i = 0; i < x->n_words; i++) mask[i] |= x->all_plain[i];
            for (i = ranges->end; i < x->n_plain; i++) mask[lists[i] / 32] &= ~(1u << lists[i] % 32);
        } else
            for (i = ranges->first; i < ranges->end; i++) mask[lists[i] / 32] |= 1u << lists[i] % 32;
    }
}

static void hyb_allowed_add(hyb_allowed *a, uint32_t first, uint32_t end)
{
    if (first == end) return;
    if (a->n && a->ranges[a->n - 1].end == first) {
        a->ranges[a->n - 1].end = end;
        return;
    }
    if (a->n == HYB_ALLOWED_RANGES) {
        if (!a->filled) memset(a->mask, 0, a->x->n_words * sizeof *a->mask);
        hyb_allowed_fill(a->x, a->ranges, a->n, a->mask);
        a->filled = true;
        a->n = 0;
    }
    a->ranges[a->n].first = first;
    a->ranges[a->n++].end = end;
}

/* ---- trees ---- */

/* Nodes i..stop of a tree of bytes, with all that is above them in the stack. */
static hybrid_result hyb_allowed_bytes(hyb_allowed *a, const hyb_tree *t, uint32_t i, uint32_t stop)
{
    const bool plain = t == &a->x->plain;
    hybrid_result r;
    uint32_t next;
    while (i < stop) {
        const hyb_tree_node *node = &t->nodes[i];
        a->visited++;
        if ((r = hyb_match_next(a->m, a->stack[node->depth - 1], node->byte, &next, a->error)) != HYBRID_OK) return r;
        if (next == HYB_MATCH_DEAD)
            i = node->skip;
        else if (plain && hyb_allowed_below(a, t, node, next)) {
            hyb_allowed_add(a, node->token, t->nodes[node->skip].token);
            i = node->skip;
        } else {
            a->stack[node->depth] = next;
            hyb_allowed_add(a, node->token, node[1].token);
            i++;
        }
    }
    return HYBRID_OK;
}

/* The nodes whose first byte is low..high. */
static hybrid_result hyb_allowed_first(hyb_allowed *a, const hyb_tree *t, uint8_t low, uint8_t high)
{
    uint32_t i = 0, stop;
    while (i < t->n && t->nodes[i].byte < low) i = t->nodes[i].skip;
    for (stop = i; stop < t->n && t->nodes[stop].byte <= high;) stop = t->nodes[stop].skip;
    return hyb_allowed_bytes(a, t, i, stop);
}

/* Tokens that begin with a node's shape, whose state is in the stack, one by one. */
static hybrid_result hyb_allowed_singles(hyb_allowed *a, const hyb_tree *t, const hyb_tree_node *node)
{
    uint32_t k;
    size_t i;
    for (k = node->token; k < t->nodes[node->skip].token; k++) {
        const hybrid_string s = a->x->spelling[a->x->lists[k]].bytes;
        uint32_t at = a->stack[node->depth - 1];
        for (i = node->depth - 1; i < s.size && at != HYB_MATCH_DEAD; i++) {
            const hybrid_result r = hyb_match_next(a->m, at, (uint8_t)s.data[i], &at, a->error);
            if (r) return r;
            a->visited++;
        }
        if (at != HYB_MATCH_DEAD) hyb_allowed_add(a, k, k + 1);
    }
    return HYBRID_OK;
}

/* Where all bytes low..high lead from a state; *same: they lead to one. */
static hybrid_result hyb_match_same(hyb_match *m, uint32_t state, uint8_t low, uint8_t high, uint32_t *next, bool *same,
                                    hybrid_error *error)
{
    hybrid_result r = hyb_match_next(m, state, low, next, error);
    uint32_t k, other = *next;
    for (k = m->rules->class_of[low] + 1u; k <= m->rules->class_of[high] && !r && other == *next; k++)
        r = hyb_match_next(m, state, m->rules->class_byte[k], &other, error);
    *same = other == *next;
    return r;
}

/* A tree of shapes. Where one does not tell, its tokens are tried one by one, or if they are many, all that begin with
 * its first symbol, by their bytes. */
static hybrid_result hyb_allowed_shapes(hyb_allowed *a, const hyb_tree *t, const hyb_tree *bytes)
{
    const bool plain = bytes == &a->x->plain;
    uint32_t i = 0, first = 0, left = HYB_SINGLE_TOKENS, next;
    hybrid_result r = HYBRID_OK;
    while (i < t->n && !r) {
        const hyb_tree_node *node = &t->nodes[i];
        const uint32_t below = t->nodes[node->skip].token;
        const uint8_t *range = a->x->symbols[node->byte];
        bool same;
        if (node->depth == 1) first = i;
        a->visited++;
        r = hyb_match_same(a->m, a->stack[node->depth - 1], range[0], range[1], &next, &same, a->error);
        if (r) return r;
        if (same && next == HYB_MATCH_DEAD) {
            i = node->skip;
        } else if (same && plain && hyb_allowed_below(a, t, node, next)) {
            hyb_allowed_add(a, node->token, below);
            i = node->skip;
        } else if (same) {
            a->stack[node->depth] = next;
            hyb_allowed_add(a, node->token, node[1].token);
            i++;
        } else if (below - node->token <= left) {
            left -= below - node->token;
            r = hyb_allowed_singles(a, t, node);
            i = node->skip;
        } else {
            range = a->x->symbols[t->nodes[first].byte];
            r = hyb_allowed_first(a, bytes, range[0], range[1]);
            i = t->nodes[first].skip;
        }
    }
    return r;
}

/* ---- masks ---- */

/* The control tokens whose names fit. */
static hybrid_result hyb_allowed_controls(hyb_allowed *a, uint32_t state)
{
    const uint32_t named = (uint32_t)(a->x->named - a->x->lists);
    uint32_t i;
    size_t k;
    hybrid_result r;
    for (i = 0; i < a->x->n_controls; i++) {
        const hyb_spelling *c = &a->x->controls[i];
        uint32_t at = state;
        for (k = 0; k < c->bytes.size && at != HYB_MATCH_DEAD; k++)
            if ((r = hyb_match_next(a->m, at, (uint8_t)c->bytes.data[k], &at, a->error)) != HYBRID_OK) return r;
        if (at != HYB_MATCH_DEAD) hyb_allowed_add(a, named + i, named + i + 1);
    }
    return HYBRID_OK;
}

/* Plain tokens: by their number of characters, where only that matters. */
static hybrid_result hyb_allowed_plain(hyb_allowed *a, uint32_t state)
{
    const hybrid_lexicon *x = a->x;
    uint32_t room;
    if (!hyb_plain_room(a->m, state, x->longest, &room)) return hyb_allowed_shapes(a, &x->plain_shapes, &x->plain);
    hyb_allowed_add(a, 0, x->lengths[room + 1]);
    return HYBRID_OK;
}

/* The tokens that a text in this state may go on with. controls: they are text, too. */
static hybrid_result hyb_allowed_find(hyb_allowed *a, uint32_t state, bool controls)
{
    const hybrid_lexicon *x = a->x;
    const uint32_t ends = (uint32_t)(x->ends - x->lists);
    hybrid_result r;
    a->n = 0;
    a->filled = false;
    a->stack[0] = state;
    r = hyb_allowed_plain(a, state);
    if (!r) r = hyb_allowed_shapes(a, &x->other_shapes, &x->others);
    if (!r && controls) r = hyb_allowed_controls(a, state);
    if (!r && hyb_match_end(a->m, state)) hyb_allowed_add(a, ends, ends + (uint32_t)x->n_ends);
    return r;
}
#endif
