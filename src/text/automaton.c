/* text/automaton: many strings looked for at once (Aho, Corasick 1975): one step a byte, however many strings there are
 * and however they are made. A state is a beginning of some string; state 0 is the empty one. States are numbered by
 * length, so that those that follow a state stand side by side, and everything that a state refers back to has a lower
 * number.
 *
 *     strings aa, ab, b:    0 -a-> 1 -a-> 3        child  1 3 5 5 5 5      the states after s: child[s] .. child[s + 1]
 *     - 1
 *                           0 -b-> 2               byte   . a b a b
 *                                  1 -b-> 4        fail   0 0 0 1 2        the longest beginning of a
 *                                                  string that s ends with
 */
#ifndef HYB_TEXT_AUTOMATON_C
#define HYB_TEXT_AUTOMATON_C
#include "../api/gguf.h"
#include "../core/memory.c"

typedef struct hyb_automaton {
    uint32_t n;      /* states */
    uint32_t *child; /* n + 1 */
    uint32_t *fail;  /* n */
    uint32_t *depth; /* n: bytes of the state */
    /* n: the longest whole string that the state ends with, -1: none; [1], [2]: only of those that are marked 1, 2 */
    int32_t *best[3];
    uint8_t *byte;      /* n: the last one of the state */
    uint32_t root[256]; /* from state 0 */
} hyb_automaton;

static void hyb_automaton_free(hybrid_runtime *rt, hyb_automaton *a)
{
    hyb_free(rt, a->child);
    memset(a, 0, sizeof *a);
}

/* One block for all arrays. */
static bool hyb_automaton_alloc(hybrid_runtime *rt, hyb_automaton *a, uint32_t n)
{
    size_t bytes;
    if (!hyb_mul_size((size_t)n + 1, 6 * 4 + 1, &bytes) || !(a->child = (uint32_t *)hyb_alloc(rt, bytes))) return false;
    a->n = n;
    a->fail = a->child + n + 1;
    a->depth = a->fail + n;
    a->best[0] = (int32_t *)(a->depth + n);
    a->best[1] = a->best[0] + n;
    a->best[2] = a->best[1] + n;
    a->byte = (uint8_t *)(a->best[2] + n);
    memset(a->root, 0, sizeof a->root);
    return true;
}

/* The state after s by a byte, 0 when there is none. */
HYB_INLINE uint32_t hyb_automaton_child(const hyb_automaton *a, uint32_t s, uint8_t byte)
{
    uint32_t low = a->child[s], high = a->child[s + 1];
    HYB_STEPS(1);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (a->byte[middle] <= byte)
            low = middle;
        else
            high = middle;
    }
    return low < high && a->byte[low] == byte ? low : 0;
}

HYB_INLINE uint32_t hyb_automaton_next(const hyb_automaton *a, uint32_t s, uint8_t byte)
{
    uint32_t next;
    for (; s; s = a->fail[s])
        if ((next = hyb_automaton_child(a, s, byte)) != 0) return next;
    HYB_STEPS(1);
    return a->root[byte];
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

typedef struct hyb_automaton_source {
    const hybrid_string *strings;
    const uint8_t *marked; /* of each string: 1, 2, or both; or NULL */
    size_t n;
    bool backwards; /* the strings are read from their ends, for texts that are */
} hyb_automaton_source;

typedef struct hyb_automaton_work {
    const hyb_automaton_source *source;
    hyb_automaton a;         /* room for every byte of every string */
    uint32_t *order, *other; /* n strings; those that begin with a state stand side by side */
    uint32_t *low, *high;    /* where they do, of every state */
} hyb_automaton_work;

/* The byte that follows the first depth bytes of string i; -1 at its end. */
HYB_INLINE int hyb_automaton_key(const hyb_automaton_source *s, uint32_t i, size_t depth)
{
    const hybrid_string text = s->strings[i];
    if (text.size == depth) return -1;
    return (uint8_t)text.data[s->backwards ? text.size - 1 - depth : depth];
}

/* Sorts the strings of a state by what follows it, without changing the order of equal ones. */
static void hyb_automaton_sort(hyb_automaton_work *w, uint32_t low, uint32_t high, size_t depth)
{
    uint32_t count[257], i, j, sum = low;
    HYB_STEPS(high - low);
    if (high - low <= 32) {
        for (i = low + 1; i < high; i++) {
            const uint32_t item = w->order[i];
            const int key = hyb_automaton_key(w->source, item, depth);
            for (j = i; j > low && hyb_automaton_key(w->source, w->order[j - 1], depth) > key; j--)
                w->order[j] = w->order[j - 1];
            w->order[j] = item;
        }
        return;
    }
    memset(count, 0, sizeof count);
    for (i = low; i < high; i++) count[hyb_automaton_key(w->source, w->order[i], depth) + 1]++;
    for (i = 0; i < 257; i++) {
        j = count[i];
        count[i] = sum;
        sum += j;
    }
    for (i = low; i < high; i++) w->other[count[hyb_automaton_key(w->source, w->order[i], depth) + 1]++] = w->order[i];
    memcpy(w->order + low, w->other + low, (high - low) * sizeof *w->order);
}

/* State v, which follows s by a byte. Where it falls back to is shorter than v: all that is asked for here stands
 * already. */
static void hyb_automaton_add(hyb_automaton_work *w, uint32_t s, uint32_t v, uint8_t byte)
{
    hyb_automaton *a = &w->a;
    a->byte[v] = byte;
    a->depth[v] = a->depth[s] + 1;
    a->fail[v] = s ? hyb_automaton_next(a, a->fail[s], byte) : 0;
    if (!s) a->root[byte] = v;
}

/* What state s ends with, and the states that follow it. */
static void hyb_automaton_expand(hyb_automaton_work *w, uint32_t s)
{
    hyb_automaton *a = &w->a;
    uint32_t i = w->low[s];
    int key, k, seen;
    hyb_automaton_sort(w, i, w->high[s], a->depth[s]);
    for (k = 0; k < 3; k++) a->best[k][s] = s ? a->best[k][a->fail[s]] : -1;
    for (seen = 0; i < w->high[s] && hyb_automaton_key(w->source, w->order[i], a->depth[s]) < 0; i++) {
        const int marked = 1 | (w->source->marked ? w->source->marked[w->order[i]] << 1 : 0);
        for (k = 0; k < 3; k++)
            if (marked & ~seen & 1 << k) a->best[k][s] = (int32_t)w->order[i]; /* of equal strings the first */
        seen |= marked;
    }
    a->child[s] = a->n;
    for (; i < w->high[s]; i = w->high[a->n++]) {
        uint32_t end = i;
        key = hyb_automaton_key(w->source, w->order[i], a->depth[s]);
        while (end < w->high[s] && hyb_automaton_key(w->source, w->order[end], a->depth[s]) == key) end++;
        w->low[a->n] = i;
        w->high[a->n] = end;
        hyb_automaton_add(w, s, a->n, (uint8_t)key);
    }
    a->child[s + 1] = a->n;
}

/* The same in a block that is not larger than it has to be. */
static bool hyb_automaton_fit(hybrid_runtime *rt, const hyb_automaton *from, hyb_automaton *to)
{
    if (!hyb_automaton_alloc(rt, to, from->n)) return false;
    memcpy(to->child, from->child, ((size_t)from->n + 1) * sizeof *to->child);
    memcpy(to->fail, from->fail, (size_t)from->n * sizeof *to->fail);
    memcpy(to->depth, from->depth, (size_t)from->n * sizeof *to->depth);
    memcpy(to->best[0], from->best[0], (size_t)from->n * sizeof *to->best[0]);
    memcpy(to->best[1], from->best[1], (size_t)from->n * sizeof *to->best[1]);
    memcpy(to->best[2], from->best[2], (size_t)from->n * sizeof *to->best[2]);
    memcpy(to->byte, from->byte, from->n);
    memcpy(to->root, from->root, sizeof to->root);
    return true;
}

/* Of n strings, none of them empty, at most 2^31 bytes in all; in time that grows with their bytes. false: no
 * memory. */
static bool hyb_automaton_make(hybrid_runtime *rt, const hyb_automaton_source *source, hyb_automaton *out)
{
    hyb_automaton_work w;
    size_t i, room = 1;
    uint32_t s;
    bool ok;
    memset(&w, 0, sizeof w);
    memset(out, 0, sizeof *out);
    w.source = source;
    for (i = 0; i < source->n; i++) room += source->strings[i].size;
    w.order = (uint32_t *)hyb_calloc(rt, source->n + 1, 2 * sizeof *w.order);
    w.low = (uint32_t *)hyb_calloc(rt, room, 2 * sizeof *w.low);
    ok = w.order && w.low && hyb_automaton_alloc(rt, &w.a, (uint32_t)room);
    if (ok) {
        w.other = w.order + source->n;
        w.high = w.low + room;
        for (i = 0; i < source->n; i++) w.order[i] = (uint32_t)i;
        w.high[0] = (uint32_t)source->n;
        w.a.n = 1;
        w.a.fail[0] = w.a.depth[0] = w.a.byte[0] = 0;
        for (s = 0; s < w.a.n; s++) hyb_automaton_expand(&w, s);
        ok = hyb_automaton_fit(rt, &w.a, out);
    }
    hyb_automaton_free(rt, &w.a);
    hyb_free(rt, w.order);
    hyb_free(rt, w.low);
    return ok;
}
#endif
