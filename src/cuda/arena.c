/* cuda/arena: hands out parts of a few big blocks of address space: best fit, 256-byte alignment, neighbours joined
 * when freed. Pure bookkeeping: addresses are numbers, the blocks come from the caller. A part has a count of holders,
 * so that a view into it keeps it. */
#ifndef HYB_CUDA_ARENA_C
#define HYB_CUDA_ARENA_C
#include "../core/memory.c"

enum { HYB_ARENA_ALIGN = 256 };

typedef struct hyb_range hyb_range;
struct hyb_range { /* ranges cover their blocks without gaps, in the order of addresses within a block */
    uint64_t at, size;
    unsigned holders; /* 0: free */
    bool starts_block;
    hyb_range *next, *previous;
};

typedef struct hyb_arena {
    hybrid_runtime *rt;
    hyb_range *first;
    uint64_t total, used, peak; /* bytes */
    unsigned n_blocks, n_used;
} hyb_arena;

static void hyb_arena_create(hyb_arena *arena, hybrid_runtime *rt)
{
    memset(arena, 0, sizeof *arena);
    arena->rt = rt;
}

/* Forgets everything; the blocks are the caller's to free. */
static void hyb_arena_destroy(hyb_arena *arena)
{
    hyb_range *r = arena->first, *next;
    for (; r; r = next) {
        next = r->next;
        hyb_free(arena->rt, r);
    }
    arena->first = NULL;
}

/* A new range after `after` (NULL: as the first). NULL when the host has no memory. */
static hyb_range *hyb_range_insert(hyb_arena *arena, hyb_range *after, uint64_t at, uint64_t size)
{
    hyb_range *r = (hyb_range *)hyb_calloc(arena->rt, 1, sizeof *r);
    if (!r) return NULL;
    r->at = at;
    r->size = size;
    r->previous = after;
    r->next = after ? after->next : arena->first;
    if (r->next) r->next->previous = r;
    if (after)
        after->next = r;
    else
        arena->first = r;
    return r;
}

static void hyb_range_remove(hyb_arena *arena, hyb_range *r)
{
    if (r->previous)
        r->previous->next = r->next;
    else
        arena->first = r->next;
    if (r->next) r->next->previous = r->previous;
    hyb_free(arena->rt, r);
}

/* The range that a range of the same block begins after, or NULL. */
static hyb_range *hyb_range_before(hyb_range *r) { return r->starts_block ? NULL : r->previous; }
static hyb_range *hyb_range_after(hyb_range *r) { return r->next && !r->next->starts_block ? r->next : NULL; }

/* Adds a block: at and size are multiples of the alignment. False when the host has no memory. */
static bool hyb_arena_add(hyb_arena *arena, uint64_t at, uint64_t size)
{
    hyb_range *r = hyb_range_insert(arena, NULL, at, size);
    if (!r) return false;
    r->starts_block = true;
    arena->total += size;
    arena->n_blocks++;
    return true;
}

static uint64_t hyb_arena_round(uint64_t size)
{
    return (HYB_MAX(size, 1) + HYB_ARENA_ALIGN - 1) / HYB_ARENA_ALIGN * HYB_ARENA_ALIGN;
}

/* HYBRID_OK and an address; HYBRID_ERROR_LIMIT: no block has so much in one piece; HYBRID_ERROR_MEMORY: the host has no
 * memory. */
static hybrid_result hyb_arena_take(hyb_arena *arena, uint64_t size, uint64_t *at)
{
    hyb_range *r, *best = NULL;
    if (size > UINT64_MAX - HYB_ARENA_ALIGN) return HYBRID_ERROR_LIMIT;
    size = hyb_arena_round(size);
    for (r = arena->first; r; r = r->next)
        if (!r->holders && r->size >= size && (!best || r->size < best->size)) best = r;
    if (!best) return HYBRID_ERROR_LIMIT;
    if (best->size > size) {
        if (!hyb_range_insert(arena, best, best->at + size, best->size - size)) return HYBRID_ERROR_MEMORY;
        best->size = size;
    }
    best->holders = 1;
    arena->n_used++;
    arena->used += size;
    arena->peak = HYB_MAX(arena->peak, arena->used);
    *at = best->at;
    return HYBRID_OK;
}

/* The part in use that an address lies in, or NULL. */
static hyb_range *hyb_arena_at(const hyb_arena *arena, uint64_t address)
{
    hyb_range *r = arena->first;
    while (r && !(r->holders && address >= r->at && address - r->at < r->size)) r = r->next;
    return r;
}

/* One more holder of the part around an address: a view. False when nothing is in use there. */
static bool hyb_arena_hold(hyb_arena *arena, uint64_t address)
{
    hyb_range *r = hyb_arena_at(arena, address);
    if (r) r->holders++;
    return r != NULL;
}

/* One holder less; with the last one the part is free. An address anywhere in the part will do. When its whole block is
 * free then, the block leaves the arena and its address goes to *block (else 0): the caller gives it back or adds it
 * again. */
static bool hyb_arena_free(hyb_arena *arena, uint64_t address, uint64_t *block)
{
    hyb_range *r = hyb_arena_at(arena, address), *other;
    *block = 0;
    if (!r) return false;
    if (--r->holders) return true;
    arena->n_used--;
    arena->used -= r->size;
    if ((other = hyb_range_after(r)) != NULL && !other->holders) {
        r->size += other->size;
        hyb_range_remove(arena, other);
    }
    if ((other = hyb_range_before(r)) != NULL && !other->holders) {
        other->size += r->size;
        hyb_range_remove(arena, r);
        r = other;
    }
    if (r->starts_block && !hyb_range_after(r)) {
        *block = r->at;
        arena->total -= r->size;
        arena->n_blocks--;
        hyb_range_remove(arena, r);
    }
    return true;
}
#endif
