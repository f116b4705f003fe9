/* train/budget: memory whose amount depends on somebody's text: it is counted, and may have a bound. */
#ifndef HYB_TRAIN_BUDGET_C
#define HYB_TRAIN_BUDGET_C
#include "../core/memory.c"

typedef struct hyb_budget {
    hybrid_runtime *rt;
    uint64_t used, peak; /* bytes */
    uint64_t most;       /* bytes; 0: no bound */
    bool over;           /* an allocation failed because of the bound */
    uint64_t missing;    /* bytes of the allocation that failed */
} hyb_budget;

static void *hyb_budget_alloc(hyb_budget *b, size_t size)
{
    void *block = NULL;
    if (b->most && size > b->most - HYB_MIN(b->used, b->most))
        b->over = true;
    else
        block = hyb_alloc(b->rt, size);
    if (!block) {
        b->missing = size;
        return NULL;
    }
    b->used += size;
    b->peak = HYB_MAX(b->peak, b->used);
    return block;
}

/* size: that of the block */
static void hyb_budget_free(hyb_budget *b, void *block, size_t size)
{
    if (!block) return;
    b->used -= size;
    hyb_free(b->rt, block);
}

/* Makes an array with room for *room items one with room for n, at least half as much again. false: it stays as it
 * was. */
static bool hyb_budget_grow(hyb_budget *b, void **array, size_t *room, size_t n, size_t item)
{
    size_t more = HYB_MAX(*room + *room / 2, n), bytes;
    void *block = NULL;
    if (hyb_mul_size(HYB_MAX(more, (size_t)64), item, &bytes)) {
        more = HYB_MAX(more, (size_t)64);
        block = hyb_budget_alloc(b, bytes);
    }
    if (!block) return false;
    if (*array) memcpy(block, *array, *room * item);
    hyb_budget_free(b, *array, *room * item);
    *array = block;
    *room = more;
    return true;
}

/* The sentence for an allocation that failed; what: "counting words". */
static hybrid_result hyb_budget_fail(const hyb_budget *b, const char *what, hybrid_error *error)
{
    if (b->over)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "%s needs more than the %llu bytes of max_bytes: %llu are in use, and %llu more were asked for",
                        what, (unsigned long long)b->most, (unsigned long long)b->used, (unsigned long long)b->missing);
    return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory while %s: an allocation of %llu bytes failed", what,
                    (unsigned long long)b->missing);
}
#endif
