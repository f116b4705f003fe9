/* core/grow: arrays that grow. They double, so that each item is moved about once, however many come. */
#ifndef HYB_CORE_GROW_C
#define HYB_CORE_GROW_C
#include "memory.c"

/* Makes room for `need` items of `size` bytes in the block *items, a pointer of any type (NULL: none yet), which has
 * room for *capacity, fewer than that; the first `used` are kept. MEMORY: all is as it was. */
static hybrid_result hyb_grow(hybrid_runtime *rt, void *items, size_t *capacity, size_t used, size_t need, size_t size,
                              hybrid_error *error)
{
    size_t to = HYB_MAX(need, HYB_MAX(*capacity <= SIZE_MAX / 2 ? 2 * *capacity : 0, 16)), bytes;
    void *old, *grown;
    if (!hyb_mul_size(to, size, &bytes)) return hyb_fail_memory(error, SIZE_MAX);
    memcpy(&old, items, sizeof old);
    if (!(grown = hyb_realloc(rt, old, used * size, bytes))) return hyb_fail_memory(error, bytes);
    memcpy(items, &grown, sizeof grown);
    *capacity = to;
    return HYBRID_OK;
}

/* Room for one more: HYB_GROW(rt, list->items, list->capacity, list->n, list->n + 1, error). need and capacity are read
 * more than once. */
#define HYB_GROW(rt, items, capacity, used, need, error) \
    ((need) <= (capacity) ? HYBRID_OK : hyb_grow(rt, &(items), &(capacity), used, need, sizeof *(items), error))
#endif
