/* text/jinja/arena: the memory of one render, which lives as long as it does, the steps and the stack that it may take,
 * and for every byte in it whose words it is: the template's own or a stranger's. */
#ifndef HYB_TEXT_JINJA_ARENA_C
#define HYB_TEXT_JINJA_ARENA_C
#include "../../core/stack.c"
#include "../../core/grow.c"

/* Memory and steps of one render (or of one parsed template). When either is used up, result says so and every
 * allocation fails. A chunk is this head, size bytes, and (in a render) a bit for each of them: see "whose words". */
typedef struct hyb_jchunk {
    struct hyb_jchunk *next;
    size_t size, used; /* size: a multiple of 16 */
} hyb_jchunk;
typedef struct hyb_jgap {
    uintptr_t begin, end; /* no chunk lies between them */
} hyb_jgap;
typedef struct hyb_jarena {
    hybrid_runtime *rt;
    const struct hyb_jarena *own; /* of a render: the template's, whose bytes are its own words */
    hyb_jchunk *chunks;           /* the newest first; that is the one with room */
    size_t n_chunks;
    hyb_jchunk *found[2];         /* those that were asked for last, the last one first */
    hyb_jgap gaps[2];             /* the same of addresses that are in none */
    size_t bytes, max_bytes;      /* of all chunks */
    uint64_t steps;               /* left */
    hyb_stack stack;
    hybrid_result result;
    bool deep; /* the result is a limit of depth */
} hyb_jarena;

/* Bytes that grow: output, and long strings that a template builds up piece by piece. */
typedef struct hyb_jbuffer {
    char *data;
    size_t size, capacity;
} hyb_jbuffer;

/* ---- arena ------------------------------------------------------------------------------------------------------- */

enum { HYB_J_HEAD = (sizeof(hyb_jchunk) + 15) / 16 * 16 };

HYB_INLINE char *hyb_jchunk_data(const hyb_jchunk *c) { return (char *)(uintptr_t)c + HYB_J_HEAD; }

/* A chunk with room for so many bytes, in no list yet. NULL: no memory, or more than there may be. */
static hyb_jchunk *hyb_jchunk_new(hyb_jarena *arena, size_t room)
{
    const size_t bits = arena->own ? room / 8 : 0, left = arena->max_bytes - arena->bytes;
    hyb_jchunk *c;
    if (left < HYB_J_HEAD || room > left - HYB_J_HEAD || bits > left - HYB_J_HEAD - room) {
        arena->result = HYBRID_ERROR_LIMIT;
        return NULL;
    }
    if (!(c = (hyb_jchunk *)hyb_alloc(arena->rt, HYB_J_HEAD + room + bits))) {
        arena->result = HYBRID_ERROR_MEMORY;
        return NULL;
    }
    arena->bytes += HYB_J_HEAD + room + bits;
    arena->n_chunks++;
    memset(arena->gaps, 0, sizeof arena->gaps);
    c->size = room;
    c->used = 0;
    memset(hyb_jchunk_data(c) + room, 0, bits);
    return c;
}

static void *hyb_jarena_alloc(hyb_jarena *arena, size_t size)
{
    enum { FIRST = 8192, LARGEST = 1 << 20 };
    hyb_jchunk *c = arena->chunks;
    size_t room;
    if (arena->result) return NULL;
    if (size > SIZE_MAX / 2) {
        arena->result = HYBRID_ERROR_LIMIT;
        return NULL;
    }
    size = hyb_align(size ? size : 1, 16);
    if (!c || c->size - c->used < size) {
        bool alone = c && size > c->size / 4; /* a big block must not end a chunk that still has room */
        room = alone ? size : HYB_MAX(size, c ? HYB_MIN(c->size * 2, (size_t)LARGEST) : (size_t)FIRST);
        if (room + room / 8 + HYB_J_HEAD > arena->max_bytes - arena->bytes) room = size;
        if (!(c = hyb_jchunk_new(arena, room))) return NULL;
        if (alone && arena->chunks) {
            c->next = arena->chunks->next;
            arena->chunks->next = c;
        } else {
            c->next = arena->chunks;
            arena->chunks = c;
        }
    }
    c->used += size;
    return hyb_jchunk_data(c) + c->used - size;
}

/* Room for `to` items of `size` bytes in place of *items, a pointer of any type; the first `used` are kept. The old
 * block stays in the arena: arrays double, so that all of theirs together are no larger than the last one. */
static bool hyb_jarena_grow(hyb_jarena *arena, void *items, size_t used, size_t to, size_t size)
{
    void *old, *grown;
    size_t bytes;
    if (!hyb_mul_size(to, size, &bytes)) bytes = SIZE_MAX; /* which alloc refuses */
    if (!(grown = hyb_jarena_alloc(arena, bytes))) return false;
    memcpy(&old, items, sizeof old);
    if (used) memcpy(grown, old, used * size);
    memcpy(items, &grown, sizeof grown);
    return true;
}

static void hyb_jarena_free(hyb_jarena *arena)
{
    while (arena->chunks) {
        hyb_jchunk *c = arena->chunks;
        arena->chunks = c->next;
        hyb_free(arena->rt, c);
    }
    arena->n_chunks = 0;
    arena->found[0] = arena->found[1] = NULL;
}

/* Takes n steps; false when there are not as many. */
static bool hyb_jarena_work(hyb_jarena *arena, uint64_t n)
{
    if (arena->result) return false;
    if (n > arena->steps) {
        arena->steps = 0;
        arena->result = HYBRID_ERROR_LIMIT;
        return false;
    }
    arena->steps -= n;
    return true;
}

/* Every recursion over values or a tree asks for room on the stack; depth: levels left. */
static bool hyb_jarena_room(hyb_jarena *arena, int depth)
{
    if (depth > 0 && hyb_stack_room(&arena->stack)) return true;
    if (!arena->result) {
        arena->result = HYBRID_ERROR_LIMIT;
        arena->deep = true;
    }
    return false;
}

/* ---- whose words -------------------------------------------------------------------------------------------------
 *
 * A prompt is made of the template's own words and of those of strangers: messages, tools, variables. Only the former
 * may become control tokens. Every byte in a render's arena has a bit, 1: it is the template's own. A part of a text
 * (what trim, split, a slice or a loop gives) lies where the whole lies, and has its bits without being told; what is
 * copied takes its bits along. Whatever else there is, in other memory, is a stranger's: a value of a message, but
 * also what is made on the way, such as the entities of escape. */

/* Where p lies in a chunk; its size or more: elsewhere. */
HYB_INLINE size_t hyb_jchunk_at(const hyb_jchunk *c, const char *p)
{
    return (size_t)((uintptr_t)p - (uintptr_t)hyb_jchunk_data(c));
}
/* Whether p is in no chunk, and lies where another address did of which that is known. */
static bool hyb_jarena_gap(const hyb_jarena *arena, const char *p)
{
    const uintptr_t x = (uintptr_t)p;
    const hyb_jgap *g = arena->gaps;
    return (x >= g[0].begin && x < g[0].end) || (x >= g[1].begin && x < g[1].end);
}
/* The chunk that p is in, by a walk; NULL: in none, and the gap that it lies in is noted. */
static hyb_jchunk *hyb_jchunk_walk(hyb_jarena *arena, const char *p, size_t *walked)
{
    const uintptr_t x = (uintptr_t)p;
    hyb_jchunk *c;
    hyb_jgap gap = { 0, UINTPTR_MAX };
    for (c = arena->chunks; c; c = c->next, ++*walked) {
        const uintptr_t begin = (uintptr_t)hyb_jchunk_data(c), end = begin + c->size;
        if (x >= begin && x < end) return c;
        if (x < begin)
            gap.end = HYB_MIN(gap.end, begin);
        else
            gap.begin = HYB_MAX(gap.begin, end);
    }
    arena->gaps[1] = arena->gaps[0];
    arena->gaps[0] = gap;
    return NULL;
}
/* The chunk that p is in, or NULL. Most often that is asked again and again of the same: of a text that grows, and of
 * what is put into it. The steps that it takes are the same wherever the system puts the chunks. */
static hyb_jchunk *hyb_jchunk_of(hyb_jarena *arena, const char *p)
{
    hyb_jchunk *c = NULL;
    size_t walked = 0;
    int i;
    for (i = 0; i < 2 && !c; i++)
        if (arena->found[i] && hyb_jchunk_at(arena->found[i], p) < arena->found[i]->size) c = arena->found[i];
    if (!c && hyb_jarena_gap(arena, p))
        walked = arena->n_chunks;
    else if (!c)
        c = hyb_jchunk_walk(arena, p, &walked);
    if (walked > 16) hyb_jarena_work(arena, walked / 16);
    if (c && c != arena->found[0]) {
        arena->found[1] = arena->found[0];
        arena->found[0] = c;
    }
    return c;
}

/* Where the bit of the byte at p is: bit *at of what is returned. NULL: it has none, and *own says whose it is. */
static uint8_t *hyb_jbits(hyb_jarena *arena, const char *p, size_t *at, bool *own)
{
    const hyb_jchunk *c = hyb_jchunk_of(arena, p);
    *own = false;
    if (c) {
        *at = hyb_jchunk_at(c, p);
        return (uint8_t *)hyb_jchunk_data(c) + c->size;
    }
    for (c = arena->own->chunks; c && !*own; c = c->next) *own = (uintptr_t)p - (uintptr_t)hyb_jchunk_data(c) < c->size;
    return NULL;
}

/* n bits from bit `at` on. */
static void hyb_jbits_set(uint8_t *bits, size_t at, size_t n, bool own)
{
    for (; n && at % 8; at++, n--) bits[at / 8] = (uint8_t)((bits[at / 8] & ~(1u << at % 8)) | (unsigned)own << at % 8);
    memset(bits + at / 8, own ? 255 : 0, n / 8);
    for (at += n / 8 * 8, n %= 8; n; at++, n--)
        bits[at / 8] = (uint8_t)((bits[at / 8] & ~(1u << at % 8)) | (unsigned)own << at % 8);
}
/* Up to 8 of n bits, to the end of a byte. */
static void hyb_jbits_copy_few(uint8_t *bits, size_t *at, const uint8_t *from, size_t *place, size_t *n)
{
    const unsigned low = *at % 8, shift = *place % 8, k = (unsigned)HYB_MIN(*n, (size_t)(8 - low));
    const unsigned mask = ((1u << k) - 1) << low;
    unsigned byte = (unsigned)from[*place / 8] >> shift;
    if (shift + k > 8) byte |= (unsigned)from[*place / 8 + 1] << (8 - shift);
    bits[*at / 8] = (uint8_t)((bits[*at / 8] & ~mask) | (byte << low & mask));
    *at += k;
    *place += k;
    *n -= k;
}
/* n bits from bit `at` on become those from bit `place` of others on. */
static void hyb_jbits_copy(uint8_t *bits, size_t at, const uint8_t *from, size_t place, size_t n)
{
    while (n) {
        const uint8_t *p = from + place / 8;
        if (n >= 264 && at % 8 == 0 && (!*p || *p == 255) && !memcmp(p, p + 1, 32)) { /* a long text has one author */
            memset(bits + at / 8, *p, 32);
            at += 256;
            place += 256;
            n -= 256;
            continue;
        }
        hyb_jbits_copy_few(bits, &at, from, &place, &n);
    }
}

/* Whether n bytes, at least one, are all the template's own. */
static bool hyb_jown(hyb_jarena *arena, const char *p, size_t n)
{
    size_t at;
    bool own;
    const uint8_t *bits = hyb_jbits(arena, p, &at, &own);
    if (!bits) return own;
    for (own = true; n && own; at++, n--) own = bits[at / 8] >> at % 8 & 1;
    return own;
}
/* n bytes at `to`, in the arena of a render, are a copy of those at p. */
static void hyb_jown_copy(hyb_jarena *arena, const char *to, const char *p, size_t n)
{
    size_t at, place;
    bool own, all;
    uint8_t *bits;
    const uint8_t *from;
    if (!arena->own || !n || !(bits = hyb_jbits(arena, to, &at, &own))) return;
    if ((from = hyb_jbits(arena, p, &place, &all)) != NULL)
        hyb_jbits_copy(bits, at, from, place, n);
    else
        hyb_jbits_set(bits, at, n, all);
}
/* n bytes of a render's arena are the template's own from now on. */
static void hyb_jown_set(hyb_jarena *arena, const char *p, size_t n)
{
    size_t at;
    bool own;
    uint8_t *bits = n ? hyb_jbits(arena, p, &at, &own) : NULL;
    if (bits) hyb_jbits_set(bits, at, n, true);
}

static bool hyb_jbuffer_append(hyb_jarena *arena, hyb_jbuffer *b, const char *p, size_t n)
{
    const char *old = b->data;
    if (!hyb_jarena_work(arena, n / 16)) return false;
    if (n > b->capacity - b->size) {
        size_t total, capacity;
        if (!hyb_add_size(b->size, n, &total) || total > SIZE_MAX / 4) {
            arena->result = HYBRID_ERROR_LIMIT;
            return false;
        }
        capacity = HYB_MAX(total * 2, (size_t)64);
        if (!hyb_jarena_grow(arena, &b->data, b->size, capacity, 1)) return false;
        hyb_jown_copy(arena, b->data, old, b->size);
        b->capacity = capacity;
    }
    if (!n) return true;
    memcpy(b->data + b->size, p, n);
    hyb_jown_copy(arena, b->data + b->size, p, n);
    b->size += n;
    return true;
}
#endif
