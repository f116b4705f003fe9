/* text/grammar/mask: which tokens of a vocabulary a text may go on with. They are found as ranges of the lexicon's
 * lists, and become bits only when no mask is known that came of the same ranges: a string that may have so many
 * characters more allows what it would with one less, until its end is near. */
#ifndef HYB_TEXT_GRAMMAR_MASK_C
#define HYB_TEXT_GRAMMAR_MASK_C
#include "../../core/lifetime.c"
#include "letters.c"

enum {
    HYB_ALLOWED_RANGES = 2048, /* of a mask that can be found again by them */
    HYB_SINGLE_SHARE = 8,      /* of the tokens below a first symbol, one of so many is tried by itself at most, */
    HYB_SINGLE_TOKENS = 64,    /* or so many, where a shape does not tell */
    HYB_FOUND_TOKENS = 2048,   /* that are found one by one before they are put with the others */
    HYB_SORTED_RANGES = 512,   /* of a mask at most, to be put in order */
    HYB_FOUND_RANGES = 1024     /* so many of them become ranges at most: more become bits at once */
};

/* Tokens lists[first..end) of a lexicon. */
typedef struct hyb_stretch {
    uint32_t first, end;
} hyb_stretch;

/* The plain tokens of so many characters, without some letters: of the list by length the first ones. */
typedef struct hyb_common {
    uint32_t end, refused[3];
} hyb_common;

/* What a state allows, while it is found. */
typedef struct hyb_allowed {
    hyb_match *m;
    const hybrid_lexicon *x;
    uint32_t *stack; /* (deepest + 1) states */
    uint32_t *mask;  /* (n_words) takes the ranges when there are too many: then it is `filled` */
    hyb_stretch *ranges;
    uint32_t *found; /* (HYB_FOUND_TOKENS) of the lists, one by one */
    uint32_t *marks; /* (hyb_marks_words) bits of nodes of the tree of plain tokens, none set */
    hyb_common common; /* beside the ranges */
    size_t n;
    bool filled, mixed; /* mixed: the ranges do not rise */
    bool cut;           /* shapes tell nothing */
    uint64_t visited;
    hybrid_error *error;
} hyb_allowed;

/* Whether all that is below a node of a tree of plain tokens fits after a state: its height in bytes, which is not less
 * than in characters, is what is asked for. In the middle of a character there is no room. */
static bool hyb_allowed_below(hyb_allowed *a, const hyb_tree_node *node, uint32_t state)
{
    uint32_t room;
    if (!node->height || a->m->plain[state] == HYB_MATCH_UNEQUAL) return false;
    hyb_plain_room(a->m, state, node->height, &room);
    return room == node->height;
}

/* ---- ranges ---- */

/* Bits for the tokens that are common. */
static void hyb_common_fill(const hybrid_lexicon *x, const hyb_common *c, uint32_t *mask)
{
    const uint32_t *has;
    uint32_t k, i;
    memcpy(mask, x->all_plain, x->n_words * sizeof *mask);
    for (k = 0; k < HYB_PLAIN_LETTERS; k++) {
        if (!hyb_letter_in(c->refused, k)) continue;
        has = x->has + k * x->n_words;
        for (i = 0; i < x->n_words; i++) mask[i] &= ~has[i];
    }
    for (i = c->end; i < x->n_plain; i++) mask[x->lists[i] / 32] &= ~(1u << x->lists[i] % 32);
}

/* A mask of what is common, or of nothing. */
static void hyb_common_begin(const hybrid_lexicon *x, const hyb_common *c, uint32_t *mask)
{
    if (c->end)
        hyb_common_fill(x, c, mask);
    else
        memset(mask, 0, x->n_words * sizeof *mask);
}

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

static size_t hyb_ranges_size(const hyb_stretch *ranges, size_t n)
{
    size_t size = 0;
    for (; n; n--, ranges++) size += ranges->end - ranges->first;
    return size;
}

/* Turns the bits of all tokens that only one of two lists of ranges has. False: they are more than `most`, and words
 * are spoilt. Where the ranges do not rise, that may be too, or a bit is turned twice: which is right as well. */
static bool hyb_ranges_turn(const int32_t *lists, const hyb_stretch *p, size_t n, const hyb_stretch *q, size_t m,
                            size_t most, uint32_t *words)
{
    size_t i = 0, j = 0; /* borders of p and of q that were passed: after an odd number, one is in a range */
    uint32_t at = 0;
    while (i < 2 * n || j < 2 * m) {
        const uint32_t a = i == 2 * n ? 0xFFFFFFFFu : i % 2 ? p[i / 2].end : p[i / 2].first;
        const uint32_t b = j == 2 * m ? 0xFFFFFFFFu : j % 2 ? q[j / 2].end : q[j / 2].first;
        const uint32_t next = HYB_MIN(a, b);
        if ((i ^ j) & 1) {
            if (next - at > most) return false;
            for (most -= next - at; at < next; at++) words[lists[at] / 32] ^= 1u << lists[at] % 32;
        }
        at = next;
        i += a == next;
        j += b == next;
    }
    return true;
}

/* From now on there are bits. */
static void hyb_allowed_bits(hyb_allowed *a)
{
    if (!a->filled) hyb_common_begin(a->x, &a->common, a->mask);
    a->filled = true;
}

static void hyb_allowed_add(hyb_allowed *a, uint32_t first, uint32_t end)
{
    if (first == end) return;
    if (a->n && a->ranges[a->n - 1].end == first) {
        a->ranges[a->n - 1].end = end;
        return;
    }
    if (a->n && a->ranges[a->n - 1].end > first) a->mixed = true;
    if (a->n == HYB_ALLOWED_RANGES) {
        hyb_allowed_bits(a);
        hyb_allowed_fill(a->x, a->ranges, a->n, a->mask);
        a->n = 0;
    }
    a->ranges[a->n].first = first;
    a->ranges[a->n++].end = end;
}

/* Takes the ranges back that came after n of them, the last of which had this end; where there are bits they stay. */
static void hyb_allowed_undo(hyb_allowed *a, size_t n, uint32_t end)
{
    if (a->filled) return;
    if (n) a->ranges[n - 1].end = end;
    a->n = n;
}

/* The tokens that were found one by one go to the others: as ranges, which can be found again, or as bits. */
static void hyb_allowed_flush(hyb_allowed *a, size_t n)
{
    const int32_t *lists = a->x->lists;
    size_t i, runs = 0;
    for (i = 0; i < n; i++) runs += !i || a->found[i] != a->found[i - 1] + 1;
    if (a->n + runs > HYB_FOUND_RANGES) hyb_allowed_bits(a);
    for (i = 0; i < n; i++) {
        const uint32_t k = a->found[i];
        if (a->filled)
            a->mask[lists[k] / 32] |= 1u << lists[k] % 32;
        else
            hyb_allowed_add(a, k, k + 1);
    }
}

/* ---- trees ---- */

/* Nodes i..stop of a tree of bytes, with all that is above them in the stack. This loop is what a mask takes long for,
 * where it takes long: of a vocabulary of 152k tokens it sees up to 324k nodes. */
static hybrid_result hyb_allowed_bytes(hyb_allowed *a, const hyb_tree *t, uint32_t i, uint32_t stop)
{
    hyb_match *m = a->m;
    const hyb_tree_node *node = t->nodes + i, *end = t->nodes + stop;
    const bool plain = t == &a->x->plain;
    const uint8_t *class_of = m->rules->class_of;
    const size_t k = m->rules->n_classes;
    uint32_t *stack = a->stack, *found = a->found, n = 0, visited = 0;
    while (node < end) {
        const uint32_t from = stack[node->depth - 1], class_index = class_of[node->byte];
        uint32_t next = m->next[from * k + class_index];
        visited++;
        if (next == HYB_MATCH_UNKNOWN) {
            uint32_t made;
            const hybrid_result r = hyb_match_step(m, from, class_index, &made, a->error);
            if (r) return r;
            next = made;
        }
        if (next == HYB_MATCH_DEAD) {
            node = t->nodes + node->skip;
            continue;
        }
        if (node->height && plain && hyb_allowed_below(a, node, next)) {
            hyb_allowed_add(a, node->token, t->nodes[node->skip].token);
            node = t->nodes + node->skip;
            continue;
        }
        stack[node->depth] = next;
        found[n] = node->token;
        n += node[1].token != node->token;
        node++;
        if (n == HYB_FOUND_TOKENS) {
            hyb_allowed_flush(a, n);
            n = 0;
        }
    }
    a->visited += visited;
    hyb_allowed_flush(a, n);
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

/* Tokens first..end of the lists, one by one. Their first bytes lead to the state in the stack. */
static hybrid_result hyb_allowed_singles(hyb_allowed *a, uint32_t first, uint32_t end, uint32_t bytes)
{
    uint32_t k;
    size_t i;
    for (k = first; k < end; k++) {
        const hybrid_string s = a->x->spelling[a->x->lists[k]].bytes;
        uint32_t at = a->stack[bytes];
        for (i = bytes; i < s.size && at != HYB_MATCH_DEAD; i++) {
            const hybrid_result r = hyb_match_next(a->m, at, (uint8_t)s.data[i], &at, a->error);
            if (r) return r;
            a->visited++;
        }
        if (at != HYB_MATCH_DEAD) hyb_allowed_add(a, k, k + 1);
    }
    return HYBRID_OK;
}

/* ---- letters ---- */

/* Words of `marks`. */
HYB_INLINE size_t hyb_marks_words(const hybrid_lexicon *x) { return x->plain.n / 32 + 1; }

/* Marks the nodes where a letter is apart, which may be in a token that the path tells about. */
static void hyb_allowed_mark(hyb_allowed *a, const hyb_path *p, const uint32_t letters[3])
{
    const hybrid_lexicon *x = a->x;
    uint32_t k, i;
    for (k = 0; k < HYB_LETTER_BEYOND; k++) {
        if (!hyb_letter_in(letters, k)) continue;
        for (i = x->spot_first[k]; i < x->spot_first[k + 1]; i++) {
            const uint32_t node = x->spots[i] % HYB_SPOT_NODES, at = HYB_MIN(x->spots[i] >> 24, p->n - 1);
            if (x->spots[i] >> 24 < p->room && hyb_letter_in(a->m->letters[p->states[at]].apart, k))
                a->marks[node / 32] |= 1u << node % 32;
        }
    }
}

/* Whether what stands before a node leads along the path: no letter of it is refused. */
static hybrid_result hyb_allowed_along(hyb_allowed *a, const hyb_tree_node *node, uint32_t from, bool *along)
{
    const hybrid_string s = a->x->spelling[a->x->lists[node->token]].bytes;
    uint32_t at = a->stack[0], i;
    hybrid_result r = HYBRID_OK;
    for (i = 0; i + 1u < node->depth && !r; i++) r = hyb_match_next(a->m, at, (uint8_t)s.data[i], &at, a->error);
    *along = at == from;
    return r;
}

/* The tokens below a node where a letter is apart, in a state that the path comes to: what is common has them, or has
 * not, by other letters. */
static hybrid_result hyb_allowed_spot(hyb_allowed *a, const hyb_tree_node *node, uint32_t from)
{
    const hyb_tree *t = &a->x->plain;
    const int32_t *lists = a->x->lists;
    const uint32_t end = t->nodes[node->skip].token;
    uint32_t next, i = (uint32_t)lists[node->token];
    bool along = a->mask[i / 32] >> i % 32 & 1;
    hybrid_result r = hyb_match_next(a->m, from, node->byte, &next, a->error);
    a->visited++;
    if (!r && next != HYB_MATCH_DEAD && !along) r = hyb_allowed_along(a, node, from, &along);
    for (i = node->token; i < end; i++) a->mask[lists[i] / 32] &= ~(1u << lists[i] % 32);
    if (r || next == HYB_MATCH_DEAD || !along) return r;
    a->stack[node->depth - 1] = from;
    return hyb_allowed_bytes(a, t, (uint32_t)(node - t->nodes), node->skip);
}

/* All marked nodes but those below another, and no mark is left. */
static hybrid_result hyb_allowed_spots(hyb_allowed *a, const hyb_path *p)
{
    const hybrid_lexicon *x = a->x;
    const size_t n = hyb_marks_words(x);
    uint32_t at[HYB_PLAIN_LETTERS], below = 0, node, k;
    hybrid_result r = HYBRID_OK;
    size_t i;
    memcpy(at, x->spot_first, sizeof at);
    for (i = 0; i < n; i++) {
        uint32_t bits = a->marks[i];
        for (node = 32 * (uint32_t)i; bits; bits >>= 1, node++) {
            if (!(bits & 1) || node < below || r) continue;
            k = hyb_letter_of(x->plain.nodes[node].byte);
            while (x->spots[at[k]] % HYB_SPOT_NODES < node) at[k]++;
            r = hyb_allowed_spot(a, &x->plain.nodes[node], p->states[HYB_MIN(x->spots[at[k]] >> 24, p->n - 1)]);
            below = x->plain.nodes[node].skip;
        }
        a->marks[i] = 0;
    }
    return r;
}

/* Plain tokens by their letters: all that have none that is apart fit, those with one that is refused do not, and the
 * others are looked at from there on. */
static hybrid_result hyb_allowed_letters(hyb_allowed *a, const hyb_path *p)
{
    const hybrid_lexicon *x = a->x;
    uint32_t others[3], k;
    hybrid_result r = HYBRID_OK;
    for (k = 0; k < 3; k++) others[k] = p->apart[k] & ~p->refused[k];
    a->common.end = x->lengths[p->room + 1];
    memcpy(a->common.refused, p->refused, sizeof p->refused);
    if (others[0] || others[1] || others[2]) {
        hyb_allowed_bits(a);
        hyb_allowed_mark(a, p, others);
        r = hyb_allowed_spots(a, p);
    }
    return r || !p->more ? r : hyb_allowed_singles(a, a->common.end, (uint32_t)x->n_plain, 0);
}

/* ---- shapes ---- */

/* Where all bytes low..high lead from a state; HYB_MATCH_UNEQUAL: not to one. */
static hybrid_result hyb_match_same(hyb_match *m, uint32_t state, uint8_t low, uint8_t high, uint32_t *next,
                                    hybrid_error *error)
{
    hybrid_result r = hyb_match_next(m, state, low, next, error);
    uint32_t k, other = *next;
    for (k = m->rules->class_of[low] + 1u; k <= m->rules->class_of[high] && !r && other == *next; k++)
        r = hyb_match_next(m, state, m->rules->class_byte[k], &other, error);
    if (other != *next) *next = HYB_MATCH_UNEQUAL;
    return r;
}

/* The same for the bytes of a symbol, looked at once. */
HYB_INLINE hybrid_result hyb_allowed_symbol(hyb_allowed *a, uint32_t state, uint8_t symbol, uint32_t *next)
{
    const uint32_t span = a->x->wide[symbol];
    const size_t at = (size_t)state * HYB_MATCH_SPANS + span;
    hybrid_result r;
    if (!span) return hyb_match_next(a->m, state, symbol, next, a->error);
    *next = a->m->span[at];
    if (HYB_LIKELY(*next != HYB_MATCH_UNKNOWN)) return HYBRID_OK;
    r = hyb_match_same(a->m, state, a->x->symbols[symbol][0], a->x->symbols[symbol][1], next, a->error);
    if (!r) a->m->span[at] = *next;
    return r;
}

/* A tree of shapes. Where one does not tell, its tokens are tried one by one, or if they are many, all that begin with
 * its first symbol, by their bytes. */
static hybrid_result hyb_allowed_shapes(hyb_allowed *a, const hyb_tree *t, const hyb_tree *bytes)
{
    const bool plain = bytes == &a->x->plain;
    uint32_t i = 0, first = 0, left = 0, end = 0, next = 0;
    size_t n = 0;
    hybrid_result r = HYBRID_OK;
    while (i < t->n && !r) {
        const hyb_tree_node *node = &t->nodes[i];
        if (node->depth == 1) {
            first = i;
            n = a->n;
            end = n ? a->ranges[n - 1].end : 0;
            left = HYB_MAX(hyb_tree_below(t, node) / HYB_SINGLE_SHARE, (uint32_t)HYB_SINGLE_TOKENS);
        }
        a->visited++;
        if ((r = hyb_allowed_symbol(a, a->stack[node->depth - 1], node->byte, &next)) != HYBRID_OK) return r;
        if (next == HYB_MATCH_DEAD) {
            i = node->skip;
        } else if (next == HYB_MATCH_UNEQUAL) {
            const uint32_t below = hyb_tree_below(t, node);
            if (below <= left) {
                left -= below;
                r = hyb_allowed_singles(a, node->token, t->nodes[node->skip].token, node->depth - 1u);
                i = node->skip;
            } else {
                const uint8_t *range = a->x->symbols[t->nodes[first].byte];
                hyb_allowed_undo(a, n, end); /* each token once: hyb_ranges_turn */
                r = hyb_allowed_first(a, bytes, range[0], range[1]);
                i = t->nodes[first].skip;
            }
        } else if (plain && hyb_allowed_below(a, node, next)) {
            hyb_allowed_add(a, node->token, t->nodes[node->skip].token);
            i = node->skip;
        } else {
            a->stack[node->depth] = next;
            hyb_allowed_add(a, node->token, node[1].token);
            i++;
        }
    }
    return r;
}

/* ---- masks ---- */

/* Puts ranges in order that are not: few, and nearly in order. */
static void hyb_allowed_sort(hyb_allowed *a)
{
    size_t i, k;
    if (!a->mixed || a->n > HYB_SORTED_RANGES) return;
    for (i = 1; i < a->n; i++) {
        const hyb_stretch range = a->ranges[i];
        for (k = i; k && a->ranges[k - 1].first > range.first; k--) a->ranges[k] = a->ranges[k - 1];
        a->ranges[k] = range;
    }
    a->mixed = false;
}

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

/* Plain tokens: by their number of characters, where only that matters; by their letters, where few are apart. */
static hybrid_result hyb_allowed_plain(hyb_allowed *a, uint32_t state)
{
    const hybrid_lexicon *x = a->x;
    uint32_t room;
    hyb_path p;
    if (hyb_plain_room(a->m, state, x->longest, &room)) {
        hyb_allowed_add(a, 0, x->lengths[room + 1]);
        return HYBRID_OK;
    }
    if ((a->cut = hyb_path_make(a->m, state, x, &p))) return hyb_allowed_letters(a, &p);
    return hyb_allowed_shapes(a, &x->plain_shapes, &x->plain);
}

/* The tokens that a text in this state may go on with. controls: they are text, too. */
static hybrid_result hyb_allowed_find(hyb_allowed *a, uint32_t state, bool controls)
{
    const hybrid_lexicon *x = a->x;
    const uint32_t ends = (uint32_t)(x->ends - x->lists);
    hybrid_result r;
    a->n = 0;
    a->filled = a->mixed = a->cut = false;
    memset(&a->common, 0, sizeof a->common);
    a->stack[0] = state;
    r = hyb_allowed_plain(a, state);
    if (!r)
        r = a->cut ? hyb_allowed_bytes(a, &x->others, 0, (uint32_t)x->others.n)
                   : hyb_allowed_shapes(a, &x->other_shapes, &x->others);
    if (!r && controls) r = hyb_allowed_controls(a, state);
    if (!r && hyb_match_end(a->m, state)) hyb_allowed_add(a, ends, ends + (uint32_t)x->n_ends);
    hyb_allowed_sort(a);
    return r;
}
#endif
