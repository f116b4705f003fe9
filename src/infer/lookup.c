/* infer/lookup: where the last tokens of a text stood before, and so what may come next: the cheapest guess there is.
 *
 *     a b c d e f a b c        the last occurrence of what the text ends with (a b c) is followed by: d e f
 *
 * Two chains, of all pairs and of all runs of HYB_LOOKUP_LONG tokens: heads by their hash, and of each place the one
 * before it with the same hash. A few steps of each are walked, and the longest match wins, of equal ones the last.
 * A place that is added last is taken away first, so texts can be cut. */
#ifndef HYB_INFER_LOOKUP_C
#define HYB_INFER_LOOKUP_C
#include "../core/memory.c"

enum {
    HYB_LOOKUP_SHORT = 2,
    HYB_LOOKUP_LONG = 4,
    HYB_LOOKUP_STEPS = 12, /* of a chain */
    HYB_LOOKUP_MATCH = 24, /* tokens that a match is followed back */
    HYB_LOOKUP_LOST = 16,  /* tokens after the end of a match that its place is kept, */
    HYB_LOOKUP_NEAR = 6    /* and how far from it the text may be found again */
};

typedef struct hyb_lookup {
    int32_t *head[2], *back[2]; /* places + 1, 0: none: of each hash the last, and of each place the one before it */
    uint32_t mask;              /* there are mask + 1 heads */
    int32_t n;                  /* tokens that are in it */
} hyb_lookup;

static void hyb_lookup_free(hyb_lookup *l, hybrid_runtime *rt)
{
    hyb_free(rt, l->head[0]);
    memset(l, 0, sizeof *l);
}

/* Room for a text of n_max tokens. */
static hybrid_result hyb_lookup_create(hyb_lookup *l, hybrid_runtime *rt, int32_t n_max, hybrid_error *error)
{
    const size_t n = (size_t)n_max;
    size_t heads = 256, bytes;
    memset(l, 0, sizeof *l);
    while (heads < n) heads *= 2;
    bytes = 2 * (heads + n) * sizeof *l->head[0];
    if (!(l->head[0] = (int32_t *)hyb_calloc(rt, bytes, 1))) return hyb_fail_memory(error, bytes);
    l->head[1] = l->head[0] + heads;
    l->back[0] = l->head[1] + heads;
    l->back[1] = l->back[0] + n;
    l->mask = (uint32_t)(heads - 1);
    return HYBRID_OK;
}

/* Of the `size` tokens that end at place `at`. */
static uint32_t hyb_lookup_hash(const hyb_lookup *l, const int32_t *ids, int32_t at, int32_t size)
{
    uint32_t h = 2166136261u;
    int32_t i;
    for (i = at - size + 1; i <= at; i++) h = (h ^ (uint32_t)ids[i]) * 2654435761u;
    return (h ^ h >> 15) & l->mask;
}

static int32_t hyb_lookup_size(int which) { return which ? (int32_t)HYB_LOOKUP_LONG : (int32_t)HYB_LOOKUP_SHORT; }

/* The text has n tokens now: those that are in it already are the same. */
static void hyb_lookup_add(hyb_lookup *l, const int32_t *ids, int32_t n)
{
    int which;
    for (; l->n < n; l->n++)
        for (which = 0; which < 2; which++) {
            const int32_t size = hyb_lookup_size(which);
            int32_t *head;
            if (l->n < size - 1) continue;
            head = &l->head[which][hyb_lookup_hash(l, ids, l->n, size)];
            l->back[which][l->n] = *head;
            *head = l->n + 1;
        }
}

/* Keeps the first n tokens. ids: as they were added. */
static void hyb_lookup_cut(hyb_lookup *l, const int32_t *ids, int32_t n)
{
    int which;
    while (l->n > n) {
        l->n--;
        for (which = 0; which < 2; which++) {
            const int32_t size = hyb_lookup_size(which);
            if (l->n >= size - 1) l->head[which][hyb_lookup_hash(l, ids, l->n, size)] = l->back[which][l->n];
        }
    }
}

/* Forgets everything, whatever the ids have become. */
static void hyb_lookup_reset(hyb_lookup *l)
{
    if (l->head[0]) memset(l->head[0], 0, 2 * ((size_t)l->mask + 1) * sizeof *l->head[0]);
    l->n = 0;
}

/* Tokens before place a that are those before place b > a, up to HYB_LOOKUP_MATCH. */
static int32_t hyb_lookup_same(const int32_t *ids, int32_t a, int32_t b)
{
    int32_t n = 0;
    while (n < HYB_LOOKUP_MATCH && n <= a && ids[a - n] == ids[b - n]) n++;
    return n;
}

/* What n tokens end with stood before, and its last token at place *at: returns how many tokens match, 0 or
 * HYB_LOOKUP_SHORT at least. All but the last few of the tokens may have been added, or all. */
static int32_t hyb_lookup_find(const hyb_lookup *l, const int32_t *ids, int32_t n, int32_t *at)
{
    int32_t best = 0, place, steps, same;
    int which;
    for (which = 1; which >= 0 && !best; which--) {
        const int32_t size = hyb_lookup_size(which);
        if (n < size) continue;
        place = l->head[which][hyb_lookup_hash(l, ids, n - 1, size)];
        for (steps = 0; place && steps < HYB_LOOKUP_STEPS; place = l->back[which][place - 1], steps++) {
            if (place >= n) continue;
            same = hyb_lookup_same(ids, place - 1, n - 1);
            if (same <= best || same < size) continue;
            best = same;
            *at = place - 1;
            if (best >= HYB_LOOKUP_MATCH) break;
        }
    }
    return best;
}

/* A text that followed an earlier part of itself, place `from` being its place `to`, and then departed from it (a name
 * is another one), may follow it again: the place after `from` of its last token, of n, that is nearest to where it
 * would be, had as many tokens been exchanged; -1: none within HYB_LOOKUP_NEAR. */
static int32_t hyb_lookup_near(const int32_t *ids, int32_t n, int32_t from, int32_t to)
{
    const int32_t last = n - 1, place = from + (last - to);
    int32_t i, off;
    for (i = 0; i <= 2 * HYB_LOOKUP_NEAR; i++) {
        off = i % 2 ? (i + 1) / 2 : -(i / 2);
        if (place + off > from && place + off < to && ids[place + off] == ids[last]) return place + off;
    }
    return -1;
}

/* Writes what may come next, n tokens, behind the `end` that there are; they match those at place `at`. */
static void hyb_lookup_copy(int32_t *ids, int32_t end, int32_t at, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++) ids[end + i] = ids[at + 1 + i]; /* what it writes it may copy again: a text that repeats */
}
#endif
