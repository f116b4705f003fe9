/* infer/repeats: DRY ("don't repeat yourself"): what the last tokens would be repeated by. */
#ifndef HYB_INFER_REPEATS_C
#define HYB_INFER_REPEATS_C
#include "../core/memory.c"

#define HYB_REPEATS_MOST 1e30 /* of a penalty */

/* The token would make a repetition of `length` tokens longer. */
typedef struct hyb_repeat {
    int32_t id, length;
    double penalty;
} hyb_repeat;

typedef struct hyb_repeats {
    int32_t *ring;        /* (size) the last accepted ids; NULL: off */
    int32_t *back, *same; /* (size) the same, newest first; how many from there are those from the newest on */
    hyb_repeat *list;     /* (size) of the tokens to penalize, in order of id */
    int32_t *breakers;    /* (n_breakers) in order */
    size_t size, n, n_list, n_breakers;
    uint64_t position; /* tokens accepted */
    bool known;        /* list is up to date */
} hyb_repeats;

static void hyb_repeats_accept(hyb_repeats *r, int32_t id)
{
    if (!r->ring) return;
    r->ring[(size_t)(r->position++ % r->size)] = id;
    r->n = HYB_MIN(r->n + 1, r->size);
    r->known = false;
}

static void hyb_repeats_reset(hyb_repeats *r)
{
    r->n = r->n_list = 0;
    r->position = 0;
    r->known = false;
}

static bool hyb_repeats_breaks(const hyb_repeats *r, int32_t id)
{
    size_t low = 0, high = r->n_breakers;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (r->breakers[mid] < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->n_breakers && r->breakers[low] == id;
}

/* same[k]: how many ids from back[k] on are those from back[0] on (Gusfield's Z values, in linear time). */
static void hyb_repeats_measure(hyb_repeats *r)
{
    const size_t n = r->n;
    size_t left = 0, right = 0, k, z;
    for (k = 1; k < n; k++) {
        z = k < right ? HYB_MIN(right - k, (size_t)r->same[k - left]) : 0;
        while (k + z < n && r->back[z] == r->back[k + z]) z++;
        if (k + z > right) {
            left = k;
            right = k + z;
        }
        r->same[k] = (int32_t)z;
    }
}

static int hyb_repeat_order(const void *a, const void *b)
{
    const hyb_repeat *x = (const hyb_repeat *)a, *y = (const hyb_repeat *)b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return (x->length < y->length) - (x->length > y->length);
}

/* multiplier * base^power, at most HYB_REPEATS_MOST */
static double hyb_repeats_penalty(double multiplier, double base, int32_t power)
{
    double p = 1;
    for (; power > 0; power >>= 1) {
        if (power & 1) p = HYB_MIN(p * base, HYB_REPEATS_MOST);
        base = HYB_MIN(base * base, HYB_REPEATS_MOST);
    }
    return HYB_MIN(multiplier * p, HYB_REPEATS_MOST);
}

/* Makes the list: the ids that followed, somewhere before, what at least `allowed` of the last tokens are, each with
 * the longest such run, which no breaker is part of. */
static void hyb_repeats_find(hyb_repeats *r, double multiplier, double base, int32_t allowed)
{
    size_t limit, i, kept = 0;
    if (!r->ring || r->known) return;
    r->known = true;
    r->n_list = 0;
    for (i = 0; i < r->n; i++) r->back[i] = r->ring[(size_t)((r->position - 1 - i) % r->size)];
    for (limit = 0; limit < r->n && !hyb_repeats_breaks(r, r->back[limit]); limit++) {}
    if (limit < (size_t)allowed || r->n <= (size_t)allowed) return;
    hyb_repeats_measure(r);
    for (i = 1; i < r->n; i++) {
        const int32_t length = (int32_t)HYB_MIN((size_t)r->same[i], limit);
        if (length < allowed || hyb_repeats_breaks(r, r->back[i - 1])) continue;
        r->list[r->n_list].id = r->back[i - 1];
        r->list[r->n_list++].length = length;
    }
    if (r->n_list > 1) qsort(r->list, r->n_list, sizeof *r->list, hyb_repeat_order);
    for (i = 0; i < r->n_list; i++) {
        if (kept && r->list[kept - 1].id == r->list[i].id) continue; /* the longest came first */
        r->list[kept++] = r->list[i];
    }
    r->n_list = kept;
    for (i = 0; i < kept; i++) r->list[i].penalty = hyb_repeats_penalty(multiplier, base, r->list[i].length - allowed);
}
#endif
