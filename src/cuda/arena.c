/* cuda/arena: hands out parts of a few big blocks of address space: best fit, 256-byte alignment, neighbours joined when freed.
 * Pure bookkeeping: addresses are numbers, the blocks come from the caller. A part is counted, so that a view into it keeps it. */

enum { HYBRID__ARENA_ALIGN = 256 };

typedef struct hybrid__range hybrid__range;
struct hybrid__range {                  /* ranges cover their blocks without gaps, in the order of addresses within a block */
    uint64_t       at, size;
    unsigned       holders;             /* 0: free */
    bool           starts_block;
    hybrid__range *next, *previous;
};

typedef struct hybrid__arena {
    hybrid_runtime *rt;
    hybrid__range  *first;
    uint64_t        total, used, peak;  /* bytes */
    unsigned        n_blocks, n_used;
} hybrid__arena;

static void hybrid__arena_create(hybrid__arena *arena, hybrid_runtime *rt)
{
    memset(arena, 0, sizeof *arena);
    arena->rt = rt;
}

/* Forgets everything; the blocks are the caller's to free. */
static void hybrid__arena_destroy(hybrid__arena *arena)
{
    hybrid__range *r = arena->first, *next;
    for (; r; r = next) { next = r->next; hybrid__free(arena->rt, r); }
    arena->first = NULL;
}

/* A new range behind `after` (NULL: as the first). NULL when the host has no memory. */
static hybrid__range *hybrid__range_insert(hybrid__arena *arena, hybrid__range *after, uint64_t at, uint64_t size)
{
    hybrid__range *r = (hybrid__range *)hybrid__calloc(arena->rt, 1, sizeof *r);
    if (!r) return NULL;
    r->at = at;
    r->size = size;
    r->previous = after;
    r->next = after ? after->next : arena->first;
    if (r->next) r->next->previous = r;
    if (after) after->next = r;
    else arena->first = r;
    return r;
}

static void hybrid__range_remove(hybrid__arena *arena, hybrid__range *r)
{
    if (r->previous) r->previous->next = r->next;
    else arena->first = r->next;
    if (r->next) r->next->previous = r->previous;
    hybrid__free(arena->rt, r);
}

/* The range that a range of the same block begins after, or NULL. */
static hybrid__range *hybrid__range_before(hybrid__range *r) { return r->starts_block ? NULL : r->previous; }
static hybrid__range *hybrid__range_after(hybrid__range *r) { return r->next && !r->next->starts_block ? r->next : NULL; }

/* Adds a block: at and size are multiples of the alignment. False when the host has no memory. */
static bool hybrid__arena_add(hybrid__arena *arena, uint64_t at, uint64_t size)
{
    hybrid__range *r = hybrid__range_insert(arena, NULL, at, size);
    if (!r) return false;
    r->starts_block = true;
    arena->total += size;
    arena->n_blocks++;
    return true;
}

static uint64_t hybrid__arena_round(uint64_t size) { return (HYBRID__MAX(size, 1) + HYBRID__ARENA_ALIGN - 1) / HYBRID__ARENA_ALIGN * HYBRID__ARENA_ALIGN; }

/* HYBRID_OK and an address; HYBRID_ERROR_LIMIT: no block has so much in one piece; HYBRID_ERROR_MEMORY: the host has none. */
static hybrid_result hybrid__arena_take(hybrid__arena *arena, uint64_t size, uint64_t *at)
{
    hybrid__range *r, *best = NULL;
    if (size > UINT64_MAX - HYBRID__ARENA_ALIGN) return HYBRID_ERROR_LIMIT;
    size = hybrid__arena_round(size);
    for (r = arena->first; r; r = r->next)
        if (!r->holders && r->size >= size && (!best || r->size < best->size)) best = r;
    if (!best) return HYBRID_ERROR_LIMIT;
    if (best->size > size) {
        if (!hybrid__range_insert(arena, best, best->at + size, best->size - size)) return HYBRID_ERROR_MEMORY;
        best->size = size;
    }
    best->holders = 1;
    arena->n_used++;
    arena->used += size;
    arena->peak = HYBRID__MAX(arena->peak, arena->used);
    *at = best->at;
    return HYBRID_OK;
}

/* The part in use that an address lies in, or NULL. */
static hybrid__range *hybrid__arena_at(const hybrid__arena *arena, uint64_t address)
{
    hybrid__range *r = arena->first;
    while (r && !(r->holders && address >= r->at && address - r->at < r->size)) r = r->next;
    return r;
}

/* One more holder of the part around an address: a view. False when nothing is in use there. */
static bool hybrid__arena_hold(hybrid__arena *arena, uint64_t address)
{
    hybrid__range *r = hybrid__arena_at(arena, address);
    if (r) r->holders++;
    return r != NULL;
}

/* One holder less; with the last one the part is free. An address anywhere in the part will do. When its whole block is free then,
 * the block leaves the arena and its address goes to *block (else 0): the caller gives it back or adds it again. */
static bool hybrid__arena_free(hybrid__arena *arena, uint64_t address, uint64_t *block)
{
    hybrid__range *r = hybrid__arena_at(arena, address), *other;
    *block = 0;
    if (!r) return false;
    if (--r->holders) return true;
    arena->n_used--;
    arena->used -= r->size;
    if ((other = hybrid__range_after(r)) != NULL && !other->holders) {
        r->size += other->size;
        hybrid__range_remove(arena, other);
    }
    if ((other = hybrid__range_before(r)) != NULL && !other->holders) {
        other->size += r->size;
        hybrid__range_remove(arena, r);
        r = other;
    }
    if (r->starts_block && !hybrid__range_after(r)) {
        *block = r->at;
        arena->total -= r->size;
        arena->n_blocks--;
        hybrid__range_remove(arena, r);
    }
    return true;
}
