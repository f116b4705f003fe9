/* text/jinja/value: what a template computes with: an arena that lives as long as one render, and values in it:
 * strings, lists and dicts that are never changed once a template can see them, so that they can share memory. */
#ifndef HYB_TEXT_JINJA_VALUE_C
#define HYB_TEXT_JINJA_VALUE_C
#include "../../core/stack.c"
#include "../../core/json.c"

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
    hyb_jchunk *found[2]; /* those that were asked for last, the last one first */
    hyb_jgap gaps[2];     /* the same of addresses that are in none */
    size_t bytes, max_bytes;      /* of all chunks */
    uint64_t steps;               /* left */
    hyb_stack stack;
    hybrid_result result;
    bool deep; /* the result is a limit of depth */
} hyb_jarena;

typedef enum hyb_jtype {
    HYB_J_UNDEFINED,
    HYB_J_NONE,
    HYB_J_BOOL,
    HYB_J_INT,
    HYB_J_FLOAT,
    HYB_J_BIG, /* an integer beyond 64 bits: its digits, which can be looked at and rounded, not computed with */
    HYB_J_STRING,
    HYB_J_LIST,
    HYB_J_DICT,
    HYB_J_NAMESPACE,
    HYB_J_FUNCTION,
    HYB_J_LOOP,
    HYB_J_MISSING /* an argument that was not given; no template sees it */
} hyb_jtype;

typedef struct hyb_jstring hyb_jstring;
typedef struct hyb_jlist hyb_jlist;
typedef struct hyb_jdict hyb_jdict;
typedef struct hyb_jfunction hyb_jfunction;
typedef struct hyb_jloop hyb_jloop;

typedef struct hyb_jvalue {
    uint8_t type;
    /* of an undefined value: it is a missing attribute, not a missing name; of a string: safe (Markup); of an integer:
     * a stranger wrote it */
    uint8_t mark;
    union {
        bool b;
        int64_t i;
        double d;
        hyb_jstring *s; /* also the name of what is undefined, or NULL */
        hyb_jlist *list;
        hyb_jdict *dict;
        hyb_jfunction *function;
        hyb_jloop *loop;
    } u;
} hyb_jvalue;

/* Bytes that grow: output, and long strings that a template builds up piece by piece. */
typedef struct hyb_jbuffer {
    char *data;
    size_t size, capacity;
} hyb_jbuffer;

struct hyb_jstring {
    const char *p;
    size_t n, chars;     /* bytes; code points, SIZE_MAX: not counted yet */
    hyb_jbuffer *buffer; /* its bytes lie at the front of this one, or NULL */
};

/* RANGE: range(...). ITERATOR: what Python gives as a generator: always true, made when it is first walked, and empty
 * afterwards. VIEW: a dict's keys, values, items. */
typedef enum hyb_jlist_kind { HYB_J_PLAIN, HYB_J_TUPLE, HYB_J_RANGE, HYB_J_ITERATOR, HYB_J_VIEW } hyb_jlist_kind;
typedef struct hyb_jlater hyb_jlater;
typedef struct hyb_jspan {
    int64_t start, stop, step;
} hyb_jspan;
struct hyb_jlist {
    hyb_jvalue *items;
    size_t n, capacity;
    hyb_jlist_kind kind;
    const char *label; /* what Python calls an iterator or a view */
    hyb_jlater *later; /* an iterator that was not walked yet: what makes its items */
    hyb_jspan *span;   /* of a range */
};

typedef struct hyb_jentry {
    hyb_jvalue key, value;
    uint32_t hash;
} hyb_jentry;
struct hyb_jdict {
    hyb_jentry *entries; /* in the order of insertion */
    uint32_t n, capacity;
    uint32_t *slots;  /* open addressing, entry + 1; NULL while a walk is as fast */
    uint32_t n_slots; /* a power of two */
};

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

/* ---- making values ----------------------------------------------------------------------------------------------- */

static hyb_jvalue hyb_jnone(void)
{
    hyb_jvalue v;
    memset(&v, 0, sizeof v);
    v.type = HYB_J_NONE;
    return v;
}
static hyb_jvalue hyb_jbool(bool b)
{
    hyb_jvalue v = hyb_jnone();
    v.type = HYB_J_BOOL;
    v.u.b = b;
    return v;
}
static hyb_jvalue hyb_jint(int64_t i)
{
    hyb_jvalue v = hyb_jnone();
    v.type = HYB_J_INT;
    v.u.i = i;
    return v;
}
static hyb_jvalue hyb_jfloat(double d)
{
    hyb_jvalue v = hyb_jnone();
    v.type = HYB_J_FLOAT;
    v.u.d = d;
    return v;
}
static hyb_jvalue hyb_jundefined(hyb_jstring *name, bool attribute)
{
    hyb_jvalue v = hyb_jnone();
    v.type = HYB_J_UNDEFINED;
    v.mark = attribute;
    v.u.s = name;
    return v;
}

/* A string over bytes that live as long as the arena. */
static bool hyb_jstring_view(hyb_jarena *arena, const char *p, size_t n, hyb_jvalue *out)
{
    hyb_jstring *s = (hyb_jstring *)hyb_jarena_alloc(arena, sizeof *s);
    if (!s) return false;
    s->p = p;
    s->n = n;
    s->chars = SIZE_MAX;
    s->buffer = NULL;
    out->type = HYB_J_STRING;
    out->mark = 0;
    out->u.s = s;
    return true;
}
static bool hyb_jstring_copy(hyb_jarena *arena, const char *p, size_t n, hyb_jvalue *out)
{
    char *copy = (char *)hyb_jarena_alloc(arena, n);
    if (!copy || !hyb_jarena_work(arena, n / 16)) return false;
    if (n) memcpy(copy, p, n);
    hyb_jown_copy(arena, copy, p, n);
    return hyb_jstring_view(arena, copy, n, out);
}
static bool hyb_jstring_buffer(hyb_jarena *arena, const hyb_jbuffer *b, hyb_jvalue *out)
{
    return hyb_jstring_view(arena, b->data ? b->data : "", b->size, out);
}

/* a + b. A long a that is the end of its buffer is continued in place, so that building a text in a loop takes
 * linear time. */
static bool hyb_jstring_concat(hyb_jarena *arena, hyb_jstring *a, const char *p, size_t n, hyb_jvalue *out)
{
    hyb_jbuffer *b = a->buffer;
    if (!b || b->data != a->p || b->size != a->n) {
        if (!(b = (hyb_jbuffer *)hyb_jarena_alloc(arena, sizeof *b))) return false;
        b->data = NULL;
        b->size = b->capacity = 0;
        if (a->n + n < 256) { /* short: no spare room */
            b->capacity = a->n + n;
            if (!(b->data = (char *)hyb_jarena_alloc(arena, b->capacity))) return false;
        }
        if (!hyb_jbuffer_append(arena, b, a->p, a->n)) return false;
    }
    if (!hyb_jbuffer_append(arena, b, p, n) || !hyb_jstring_view(arena, b->data, b->size, out)) return false;
    out->u.s->buffer = b;
    return true;
}

static bool hyb_jlist_new(hyb_jarena *arena, size_t capacity, hyb_jlist_kind kind, hyb_jvalue *out)
{
    hyb_jlist *l = (hyb_jlist *)hyb_jarena_alloc(arena, sizeof *l);
    if (!l || capacity > SIZE_MAX / 4 / sizeof(hyb_jvalue)) return false;
    memset(l, 0, sizeof *l);
    l->kind = kind;
    if (capacity && !(l->items = (hyb_jvalue *)hyb_jarena_alloc(arena, capacity * sizeof(hyb_jvalue)))) return false;
    l->capacity = capacity;
    out->type = HYB_J_LIST;
    out->mark = 0;
    out->u.list = l;
    return true;
}
static bool hyb_jlist_push(hyb_jarena *arena, hyb_jlist *l, hyb_jvalue v)
{
    if (!hyb_jarena_work(arena, 1)) return false;
    if (l->n == l->capacity) {
        const size_t capacity = l->capacity ? l->capacity * 2 : 4;
        if (!hyb_jarena_grow(arena, &l->items, l->n, capacity, sizeof v)) return false;
        l->capacity = capacity;
    }
    l->items[l->n++] = v;
    return true;
}
/* The elements [from, from + n), not copied. */
static bool hyb_jlist_view(hyb_jarena *arena, const hyb_jlist *of, size_t from, size_t n, hyb_jlist_kind kind,
                           hyb_jvalue *out)
{
    if (!hyb_jlist_new(arena, 0, kind, out)) return false;
    out->u.list->items = n ? of->items + from : NULL;
    out->u.list->n = out->u.list->capacity = n; /* full: a push would move it, never write into the other */
    return true;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* What Python's str.isspace and strip() take for white space. */
static bool hyb_jspace(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Where the last character of [p, end) starts; p < end. */
static const char *hyb_jlast_char(const char *p, const char *end)
{
    const char *q = end - 1;
    uint32_t code;
    while (q > p && end - q < 4 && ((unsigned char)*q & 0xC0) == 0x80) q--;
    return hyb_utf8_read(q, end, &code) == (size_t)(end - q) ? q : end - 1;
}

/* [*p, *end) without white space at its ends. */
static void hyb_jtrim(const char **p, const char **end, bool left, bool right)
{
    uint32_t code;
    while (left && *p < *end) {
        size_t n = hyb_utf8_next(*p, *end, &code);
        if (!hyb_jspace(code)) break;
        *p += n;
    }
    while (right && *p < *end) {
        const char *q = hyb_jlast_char(*p, *end);
        hyb_utf8_next(q, *end, &code);
        if (!hyb_jspace(code)) break;
        *end = q;
    }
}

/* Counted once; takes steps like everything that walks over a text. */
static size_t hyb_jstring_chars(hyb_jarena *arena, hyb_jstring *s)
{
    if (s->chars == SIZE_MAX) {
        const char *p = s->p, *end = s->p + s->n;
        size_t chars = 0;
        uint32_t code;
        for (; p < end; chars++) p += hyb_utf8_next(p, end, &code);
        s->chars = chars;
        hyb_jarena_work(arena, s->n / 8);
    }
    return s->chars;
}
/* The bytes before code point i (0..chars). */
static size_t hyb_jstring_at(hyb_jarena *arena, hyb_jstring *s, size_t i)
{
    const char *p = s->p, *end = s->p + s->n;
    uint32_t code;
    if (hyb_jstring_chars(arena, s) == s->n) return i; /* ASCII */
    hyb_jarena_work(arena, i / 4);
    for (; i && p < end; i--) p += hyb_utf8_next(p, end, &code);
    return (size_t)(p - s->p);
}

static bool hyb_jstring_is(const hyb_jstring *s, const char *word)
{
    size_t n = strlen(word);
    return s->n == n && !memcmp(s->p, word, n);
}

/* The greatest suffix of x by one order of bytes or the other: where it starts, and its period. */
static size_t hyb_jmax_suffix(const unsigned char *x, size_t m, bool reverse, size_t *period)
{
    size_t start = 0, at = 1, k = 0, p = 1;
    while (at + k < m) {
        unsigned char a = x[at + k], b = x[start + k];
        if (a == b) {
            if (k + 1 == p) {
                at += p;
                k = 0;
            } else
                k++;
        } else if (reverse ? a > b : a < b) {
            at += k + 1;
            k = 0;
            p = at - start;
        } else {
            start = at++;
            k = 0;
            p = 1;
        }
    }
    *period = p;
    return start;
}

/* A long needle by the two-way algorithm (Crochemore and Perrin): linear time, whatever the texts are. */
static size_t hyb_jfind_long(const unsigned char *y, size_t n, const unsigned char *x, size_t m)
{
    size_t p, q, cut = hyb_jmax_suffix(x, m, false, &p), other = hyb_jmax_suffix(x, m, true, &q), at, i, known = 0;
    bool periodic;
    if (other > cut) {
        cut = other;
        p = q;
    }
    periodic = p + cut <= m && !memcmp(x, x + p, cut);
    if (!periodic) p = HYB_MAX(cut, m - cut) + 1;
    for (at = 0; at + m <= n;) {
        for (i = HYB_MAX(cut, known); i < m && x[i] == y[at + i]; i++) {}
        if (i < m) {
            at += i - cut + 1;
            known = 0;
            continue;
        }
        for (i = cut; i > known && x[i - 1] == y[at + i - 1]; i--) {}
        if (i <= known) return at;
        at += p;
        known = periodic ? m - p : 0;
    }
    return SIZE_MAX;
}

/* The first place of needle at or after from, SIZE_MAX: none. */
static size_t hyb_jfind(const char *p, size_t n, const char *needle, size_t m, size_t from)
{
    if (from > n || m > n - from) return SIZE_MAX;
    if (!m) return from;
    if (m > 16) {
        size_t at = hyb_jfind_long((const unsigned char *)p + from, n - from, (const unsigned char *)needle, m);
        return at == SIZE_MAX ? at : from + at;
    }
    for (; n - from >= m; from++) {
        const char *hit = (const char *)memchr(p + from, needle[0], n - from - m + 1);
        if (!hit) break;
        from = (size_t)(hit - p);
        if (!memcmp(hit, needle, m)) return from;
    }
    return SIZE_MAX;
}

/* The last place of needle that ends within n bytes, SIZE_MAX: none, or no steps are left: this walk may take n * m. */
static size_t hyb_jfind_last(hyb_jarena *arena, const char *p, size_t n, const char *needle, size_t m)
{
    size_t at;
    if (m > n) return SIZE_MAX;
    for (at = n - m;; at--) {
        if ((at % 64 == 0 || m > 64) && !hyb_jarena_work(arena, 1 + m / 16)) return SIZE_MAX;
        if (!memcmp(p + at, needle, m)) return at;
        if (!at) return SIZE_MAX;
    }
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

HYB_INLINE bool hyb_jis_number(hyb_jvalue v)
{
    return v.type == HYB_J_BOOL || v.type == HYB_J_INT || v.type == HYB_J_FLOAT;
}
HYB_INLINE bool hyb_jis_whole(hyb_jvalue v) { return v.type == HYB_J_BOOL || v.type == HYB_J_INT; }
HYB_INLINE int64_t hyb_jwhole(hyb_jvalue v) { return v.type == HYB_J_BOOL ? (int64_t)v.u.b : v.u.i; }
HYB_INLINE double hyb_jreal(hyb_jvalue v) { return v.type == HYB_J_FLOAT ? v.u.d : (double)hyb_jwhole(v); }

static bool hyb_jhash_address(hyb_jarena *arena, const void *p, uint32_t *hash)
{
    uint64_t bits = (uint64_t)(uintptr_t)p;
    *hash = (uint32_t)hyb_hash(&arena->rt->hash_key, &bits, 8);
    return true;
}

HYB_INLINE bool hyb_jis_integer(hyb_jvalue v) { return hyb_jis_whole(v) || v.type == HYB_J_BIG; }

/* -1, 0, 1: an integer of any size against a float that is not nan, by their exact values. */
static HYB_NOINLINE int hyb_jorder_mixed(hyb_jvalue a, double d)
{
    const double most = 9223372036854775808.0; /* 2^63 */
    char digits[400];
    size_t n, size;
    bool minus;
    int order;
    if (hyb_jis_whole(a)) {
        int64_t v = hyb_jwhole(a), whole;
        if (d >= most || d < -most) return d > 0 ? -1 : 1;
        whole = (int64_t)d;
        if (v != whole) return v < whole ? -1 : 1;
        return d > (double)whole ? -1 : d < (double)whole;
    }
    minus = a.u.s->p[0] == '-';
    if (minus ? d >= -most : d < most) return minus ? -1 : 1;
    if (d - d != 0) return minus ? 1 : -1;
    n = (size_t)snprintf(digits, sizeof digits, "%.0f", fabs(d));
    size = a.u.s->n - minus;
    order = size != n ? (size < n ? -1 : 1) : memcmp(a.u.s->p + minus, digits, n);
    return minus ? (order < 0) - (order > 0) : (order > 0) - (order < 0);
}

/* The hash of a float: that of the integer that it equals, if any. */
static HYB_NOINLINE uint64_t hyb_jhash_real(const hyb_jarena *arena, double d)
{
    char digits[400];
    uint64_t bits;
    if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
        if (d == (double)(int64_t)d)
            bits = (uint64_t)(int64_t)d;
        else
            memcpy(&bits, &d, 8);
        return hyb_hash(&arena->rt->hash_key, &bits, 8);
    }
    if (d - d != 0) return hyb_hash(&arena->rt->hash_key, &d, 8);
    return hyb_hash(&arena->rt->hash_key, digits, (size_t)snprintf(digits, sizeof digits, "%.0f", d));
}

/* As Python's hash: equal numbers of different types have one. Lists, dicts and their views cannot be keys. depth is
 * 16 at most. */
static bool hyb_jhash(hyb_jarena *arena, hyb_jvalue v, int depth, uint32_t *hash)
{
    uint64_t h = 14695981039346656037u, bits;
    size_t i;
    switch (v.type) {
    case HYB_J_STRING:
    case HYB_J_BIG: h = hyb_hash(&arena->rt->hash_key, v.u.s->p, v.u.s->n); break;
    case HYB_J_FLOAT: h = hyb_jhash_real(arena, v.u.d); break;
    case HYB_J_BOOL:
    case HYB_J_INT:
        bits = (uint64_t)hyb_jwhole(v);
        h = hyb_hash(&arena->rt->hash_key, &bits, 8);
        break;
    case HYB_J_NONE:
    case HYB_J_UNDEFINED: h = v.type; break;
    case HYB_J_LIST:
        if (v.u.list->kind == HYB_J_PLAIN || v.u.list->kind == HYB_J_VIEW || depth <= 0) return false;
        if (v.u.list->kind == HYB_J_ITERATOR) return hyb_jhash_address(arena, v.u.list, hash);
        if (!hyb_jarena_work(arena, v.u.list->n)) return false;
        for (i = 0; i < v.u.list->n; i++) {
            uint32_t one;
            if (!hyb_jhash(arena, v.u.list->items[i], depth - 1, &one)) return false;
            h = (h ^ one) * 1099511628211u;
        }
        h = hyb_hash(&arena->rt->hash_key, &h, 8);
        break;
    case HYB_J_FUNCTION:
    case HYB_J_LOOP:
    case HYB_J_NAMESPACE: return hyb_jhash_address(arena, v.u.list, hash);
    default: return false;
    }
    *hash = (uint32_t)(h ^ h >> 32);
    return true;
}

static hyb_jentry *hyb_jdict_find(hyb_jarena *arena, const hyb_jdict *d, hyb_jvalue key);

static int hyb_jequal(hyb_jarena *arena, hyb_jvalue a, hyb_jvalue b, int depth);

/* Views of keys and items are compared as sets, views of values never are the same. */
static int hyb_jequal_views(hyb_jarena *arena, const hyb_jlist *a, const hyb_jlist *b, int depth)
{
    size_t i, k;
    int same;
    if (a->label != b->label || !strcmp(a->label, "dict_values")) return 0;
    for (i = 0; i < a->n; i++) {
        for (k = 0, same = 0; k < b->n && !same; k++)
            if ((same = hyb_jequal(arena, a->items[i], b->items[k], depth - 1)) < 0) return -1;
        if (!same) return 0;
    }
    return 1;
}

/* 1 equal, 0 not, -1: a limit was met (depth bounds what refers to itself). */
static int hyb_jequal(hyb_jarena *arena, hyb_jvalue a, hyb_jvalue b, int depth)
{
    size_t i;
    int same;
    if (!hyb_jarena_work(arena, 1)) return -1;
    if (hyb_jis_whole(a) && hyb_jis_whole(b)) return hyb_jwhole(a) == hyb_jwhole(b);
    if (a.type == HYB_J_FLOAT && b.type == HYB_J_FLOAT) return a.u.d == b.u.d;
    if (a.type == HYB_J_FLOAT && hyb_jis_integer(b)) return a.u.d == a.u.d && !hyb_jorder_mixed(b, a.u.d);
    if (b.type == HYB_J_FLOAT && hyb_jis_integer(a)) return b.u.d == b.u.d && !hyb_jorder_mixed(a, b.u.d);
    if (a.type != b.type) return 0;
    if (a.type == HYB_J_STRING && !hyb_jarena_work(arena, a.u.s->n / 16)) return -1;
    switch (a.type) {
    case HYB_J_STRING:
    case HYB_J_BIG: return a.u.s->n == b.u.s->n && !memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
    case HYB_J_LIST:
        if (a.u.list == b.u.list) return 1;
        if (!hyb_jarena_room(arena, depth)) return -1;
        if (a.u.list->n != b.u.list->n || a.u.list->kind != b.u.list->kind || a.u.list->kind == HYB_J_ITERATOR)
            return 0;
        if (a.u.list->kind == HYB_J_VIEW) return hyb_jequal_views(arena, a.u.list, b.u.list, depth);
        for (i = 0; i < a.u.list->n; i++)
            if ((same = hyb_jequal(arena, a.u.list->items[i], b.u.list->items[i], depth - 1)) != 1) return same;
        return 1;
    case HYB_J_DICT:
        if (a.u.dict == b.u.dict) return 1;
        if (!hyb_jarena_room(arena, depth)) return -1;
        if (a.u.dict->n != b.u.dict->n) return 0;
        for (i = 0; i < a.u.dict->n; i++) {
            const hyb_jentry *e = hyb_jdict_find(arena, b.u.dict, a.u.dict->entries[i].key);
            if (arena->result) return -1;
            if (!e) return 0;
            if ((same = hyb_jequal(arena, a.u.dict->entries[i].value, e->value, depth - 1)) != 1) return same;
        }
        return 1;
    case HYB_J_NONE:
    case HYB_J_UNDEFINED: return 1;
    default: return a.u.dict == b.u.dict; /* identity */
    }
}

/* ---- dicts ------------------------------------------------------------------------------------------------------- */

static bool hyb_jdict_new(hyb_jarena *arena, hyb_jvalue *out)
{
    hyb_jdict *d = (hyb_jdict *)hyb_jarena_alloc(arena, sizeof *d);
    if (!d) return false;
    memset(d, 0, sizeof *d);
    out->type = HYB_J_DICT;
    out->mark = 0;
    out->u.dict = d;
    return true;
}

enum { HYB_J_KEY_DEPTH = 16 };

static hyb_jentry *hyb_jdict_find(hyb_jarena *arena, const hyb_jdict *d, hyb_jvalue key)
{
    uint32_t hash, i, slot;
    if (key.type == HYB_J_STRING && !hyb_jarena_work(arena, key.u.s->n / 16)) return NULL;
    if (!hyb_jhash(arena, key, HYB_J_KEY_DEPTH, &hash)) return NULL;
    if (!d->slots) {
        for (i = 0; i < d->n; i++)
            if (d->entries[i].hash == hash && hyb_jequal(arena, d->entries[i].key, key, HYB_J_KEY_DEPTH) == 1)
                return &d->entries[i];
        return NULL;
    }
    for (i = hash & (d->n_slots - 1); (slot = d->slots[i]) != 0; i = (i + 1) & (d->n_slots - 1)) {
        if (!hyb_jarena_work(arena, 1)) return NULL;
        if (d->entries[slot - 1].hash == hash && hyb_jequal(arena, d->entries[slot - 1].key, key, HYB_J_KEY_DEPTH) == 1)
            return &d->entries[slot - 1];
    }
    return NULL;
}

static bool hyb_jdict_grow(hyb_jarena *arena, hyb_jdict *d)
{
    uint32_t capacity = d->capacity ? d->capacity * 2 : 4, i;
    hyb_jentry *entries = d->entries;
    if (capacity > UINT32_MAX / 8) {
        arena->result = HYBRID_ERROR_LIMIT;
        return false;
    }
    if (!hyb_jarena_grow(arena, &entries, d->n, capacity, sizeof *entries)) return false;
    if (capacity > 8) {
        uint32_t n_slots = capacity * 2, at;
        uint32_t *slots = (uint32_t *)hyb_jarena_alloc(arena, (size_t)n_slots * sizeof *slots);
        if (!slots) return false;
        memset(slots, 0, (size_t)n_slots * sizeof *slots);
        for (i = 0; i < d->n; i++) {
            for (at = entries[i].hash & (n_slots - 1); slots[at]; at = (at + 1) & (n_slots - 1)) {}
            slots[at] = i + 1;
        }
        d->slots = slots;
        d->n_slots = n_slots;
    }
    d->entries = entries;
    d->capacity = capacity;
    return true;
}

/* Only namespaces are changed once a template knows them. False: no memory, or the key is none (then arena->result
 * is still OK). */
static bool hyb_jdict_set(hyb_jarena *arena, hyb_jdict *d, hyb_jvalue key, hyb_jvalue value)
{
    hyb_jentry *e = hyb_jdict_find(arena, d, key);
    uint32_t hash, at;
    if (arena->result || !hyb_jhash(arena, key, HYB_J_KEY_DEPTH, &hash)) return false;
    if (e) {
        e->value = value;
        return true;
    }
    if (d->n == d->capacity && !hyb_jdict_grow(arena, d)) return false;
    e = &d->entries[d->n++];
    e->key = key;
    e->value = value;
    e->hash = hash;
    if (d->slots) {
        for (at = hash & (d->n_slots - 1); d->slots[at]; at = (at + 1) & (d->n_slots - 1)) {}
        d->slots[at] = d->n;
    }
    return true;
}

/* A member by a C name, or NULL. */
static hyb_jvalue *hyb_jdict_get(hyb_jarena *arena, const hyb_jdict *d, const char *name)
{
    hyb_jstring s;
    hyb_jvalue key = hyb_jnone();
    hyb_jentry *e;
    s.p = name;
    s.n = strlen(name);
    s.chars = SIZE_MAX;
    s.buffer = NULL;
    key.type = HYB_J_STRING;
    key.u.s = &s;
    e = hyb_jdict_find(arena, d, key);
    return e ? &e->value : NULL;
}
static bool hyb_jdict_put(hyb_jarena *arena, hyb_jdict *d, const char *name, hyb_jvalue value)
{
    hyb_jvalue key;
    return hyb_jstring_view(arena, name, strlen(name), &key) && hyb_jdict_set(arena, d, key, value);
}

/* One JSON value; a container is empty still. */
static bool hyb_jfrom_json_one(hyb_jarena *arena, const hyb_json *json, hyb_jvalue *out)
{
    switch (json->type) {
    case HYB_JSON_NULL: *out = hyb_jnone(); return true;
    case HYB_JSON_BOOL: *out = hyb_jbool(json->u.b); return true;
    case HYB_JSON_INT:
        *out = hyb_jint(json->u.i);
        out->mark = 1;
        return true;
    case HYB_JSON_REAL: *out = hyb_jfloat(json->u.d); return true;
    case HYB_JSON_STRING: return hyb_jstring_view(arena, json->u.s, json->n, out);
    case HYB_JSON_BIG:
        if (!hyb_jstring_view(arena, json->u.s, json->n, out)) return false;
        out->type = HYB_J_BIG;
        return true;
    case HYB_JSON_ARRAY: return hyb_jlist_new(arena, json->n, HYB_J_PLAIN, out);
    default: return hyb_jdict_new(arena, out);
    }
}

/* A container whose members are still to come. */
typedef struct hyb_jopen {
    struct hyb_jopen *up;
    hyb_jvalue to;
    uint32_t left;
} hyb_jopen;

/* A JSON tree as values; its strings are not copied, so the document must outlive them. Does not recurse: open
 * containers wait in a row, and their members come in the order of the tree's nodes. */
static bool hyb_jfrom_json(hyb_jarena *arena, const hyb_json *json, hyb_jvalue *out)
{
    hyb_jopen *open = NULL, *spare = NULL, *l;
    const hyb_json *p = json;
    hyb_jvalue key = hyb_jnone(), value;
    do {
        while (open && !open->left) { /* full: the next value belongs to the one around */
            l = open;
            open = l->up;
            l->up = spare;
            spare = l;
        }
        if (p != json && !open) return true;
        if (open && open->to.type == HYB_J_DICT) {
            if (!hyb_jstring_view(arena, p->u.s, p->n, &key)) return false;
            p++;
        }
        if (!hyb_jfrom_json_one(arena, p, &value)) return false;
        if (!open)
            *out = value;
        else {
            open->left--;
            if (open->to.type == HYB_J_DICT ? !hyb_jdict_set(arena, open->to.u.dict, key, value)
                                            : !hyb_jlist_push(arena, open->to.u.list, value))
                return false;
        }
        if (p->type >= HYB_JSON_ARRAY) {
            if ((l = spare) != NULL)
                spare = l->up;
            else if (!(l = (hyb_jopen *)hyb_jarena_alloc(arena, sizeof *l)))
                return false;
            l->up = open;
            l->to = value;
            l->left = p->n;
            open = l;
        }
        p++;
    } while (open);
    return true;
}
#endif
