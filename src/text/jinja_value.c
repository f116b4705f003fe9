/* text/jinja_value: what a template computes with: an arena that lives as long as one render, and values in it: strings, lists and
 * dicts that are never changed once a template can see them, so that they can share memory. */

/* Memory and steps of one render (or of one parsed template). When either is used up, result says so and every allocation fails. */
typedef struct hybrid__jchunk { struct hybrid__jchunk *next; size_t size, used; } hybrid__jchunk;
typedef struct hybrid__jarena {
    hybrid_runtime *rt;
    hybrid__jchunk *chunks;              /* the newest first; that is the one with room */
    size_t          bytes, max_bytes;    /* of all chunks */
    uint64_t        steps;               /* left */
    hybrid__stack   stack;
    hybrid_result   result;
    bool            deep;                /* the result is a limit of depth */
} hybrid__jarena;

typedef enum hybrid__jtype {
    HYBRID__J_UNDEFINED, HYBRID__J_NONE, HYBRID__J_BOOL, HYBRID__J_INT, HYBRID__J_FLOAT,
    HYBRID__J_BIG,                       /* an integer beyond 64 bits: its digits, which can be looked at and rounded, not computed with */
    HYBRID__J_STRING, HYBRID__J_LIST, HYBRID__J_DICT,
    HYBRID__J_NAMESPACE, HYBRID__J_FUNCTION, HYBRID__J_LOOP,
    HYBRID__J_MISSING                    /* an argument that was not given; no template sees it */
} hybrid__jtype;

typedef struct hybrid__jstring   hybrid__jstring;
typedef struct hybrid__jlist     hybrid__jlist;
typedef struct hybrid__jdict     hybrid__jdict;
typedef struct hybrid__jfunction hybrid__jfunction;
typedef struct hybrid__jloop     hybrid__jloop;

typedef struct hybrid__jvalue {
    uint8_t type;
    uint8_t mark;                        /* of an undefined value: it is a missing attribute, not a missing name; of a string: safe (Markup) */
    union {
        bool b; int64_t i; double d;
        hybrid__jstring *s;              /* also the name of what is undefined, or NULL */
        hybrid__jlist *list; hybrid__jdict *dict; hybrid__jfunction *function; hybrid__jloop *loop;
    } u;
} hybrid__jvalue;

/* Bytes that grow: output, and long strings that a template builds up piece by piece. */
typedef struct hybrid__jbuffer { char *data; size_t size, capacity; } hybrid__jbuffer;

struct hybrid__jstring {
    const char      *p;
    size_t           n, chars;           /* bytes; code points, SIZE_MAX: not counted yet */
    hybrid__jbuffer *buffer;             /* its bytes lie at the front of this one, or NULL */
};

/* RANGE: range(...). ITERATOR: what Python gives as a generator: always true, made when it is first walked, and empty afterwards.
 * VIEW: a dict's keys, values, items. */
typedef enum hybrid__jlist_kind { HYBRID__J_PLAIN, HYBRID__J_TUPLE, HYBRID__J_RANGE, HYBRID__J_ITERATOR, HYBRID__J_VIEW } hybrid__jlist_kind;
typedef struct hybrid__jlater hybrid__jlater;
typedef struct hybrid__jspan { int64_t start, stop, step; } hybrid__jspan;
struct hybrid__jlist {
    hybrid__jvalue *items;
    size_t          n, capacity;
    hybrid__jlist_kind kind;
    const char     *label;               /* what Python calls an iterator or a view */
    hybrid__jlater *later;               /* an iterator that was not walked yet: what makes its items */
    hybrid__jspan  *span;                /* of a range */
};

typedef struct hybrid__jentry { hybrid__jvalue key, value; uint32_t hash; } hybrid__jentry;
struct hybrid__jdict {
    hybrid__jentry *entries;             /* in the order of insertion */
    uint32_t        n, capacity;
    uint32_t       *slots;               /* open addressing, entry + 1; NULL while a walk is as fast */
    uint32_t        n_slots;             /* a power of two */
};

/* ---- arena ---- */

static void *hybrid__jarena_alloc(hybrid__jarena *arena, size_t size)
{
    enum { FIRST = 8192, LARGEST = 1 << 20, HEAD = (sizeof(hybrid__jchunk) + 15) / 16 * 16 };
    hybrid__jchunk *c = arena->chunks;
    size_t room;
    if (arena->result) return NULL;
    if (size > SIZE_MAX / 2) { arena->result = HYBRID_ERROR_LIMIT; return NULL; }
    size = hybrid__align(size ? size : 1, 16);
    if (!c || c->size - c->used < size) {
        bool alone = c && size > c->size / 4;                /* a big block must not end a chunk that still has room */
        room = alone ? size : HYBRID__MAX(size, c ? HYBRID__MIN(c->size * 2, (size_t)LARGEST) : (size_t)FIRST);
        if (room + HEAD > arena->max_bytes - arena->bytes) room = size;
        if (room + HEAD > arena->max_bytes - arena->bytes) { arena->result = HYBRID_ERROR_LIMIT; return NULL; }
        if (!(c = (hybrid__jchunk *)hybrid__alloc(arena->rt, room + HEAD))) { arena->result = HYBRID_ERROR_MEMORY; return NULL; }
        arena->bytes += room + HEAD;
        c->size = room;
        c->used = 0;
        if (alone && arena->chunks) { c->next = arena->chunks->next; arena->chunks->next = c; }
        else { c->next = arena->chunks; arena->chunks = c; }
    }
    c->used += size;
    return (char *)c + HEAD + c->used - size;
}

static void hybrid__jarena_free(hybrid__jarena *arena)
{
    while (arena->chunks) {
        hybrid__jchunk *c = arena->chunks;
        arena->chunks = c->next;
        hybrid__free(arena->rt, c);
    }
}

/* Takes n steps; false when there are not as many. */
static bool hybrid__jarena_work(hybrid__jarena *arena, uint64_t n)
{
    if (arena->result) return false;
    if (n > arena->steps) { arena->steps = 0; arena->result = HYBRID_ERROR_LIMIT; return false; }
    arena->steps -= n;
    return true;
}

/* Every recursion over values or a tree asks for room on the stack; depth: levels left. */
static bool hybrid__jarena_room(hybrid__jarena *arena, int depth)
{
    if (depth > 0 && hybrid__stack_room(&arena->stack)) return true;
    if (!arena->result) { arena->result = HYBRID_ERROR_LIMIT; arena->deep = true; }
    return false;
}

static bool hybrid__jbuffer_append(hybrid__jarena *arena, hybrid__jbuffer *b, const char *p, size_t n)
{
    if (!hybrid__jarena_work(arena, n / 16)) return false;
    if (n > b->capacity - b->size) {
        size_t total, capacity;
        char *grown;
        if (!hybrid__add_size(b->size, n, &total) || total > SIZE_MAX / 4) { arena->result = HYBRID_ERROR_LIMIT; return false; }
        capacity = HYBRID__MAX(total * 2, (size_t)64);
        if (!(grown = (char *)hybrid__jarena_alloc(arena, capacity))) return false;
        if (b->size) memcpy(grown, b->data, b->size);
        b->data = grown;
        b->capacity = capacity;
    }
    if (n) memcpy(b->data + b->size, p, n);
    b->size += n;
    return true;
}

/* ---- making values ---- */

static hybrid__jvalue hybrid__jnone(void) { hybrid__jvalue v; memset(&v, 0, sizeof v); v.type = HYBRID__J_NONE; return v; }
static hybrid__jvalue hybrid__jbool(bool b) { hybrid__jvalue v = hybrid__jnone(); v.type = HYBRID__J_BOOL; v.u.b = b; return v; }
static hybrid__jvalue hybrid__jint(int64_t i) { hybrid__jvalue v = hybrid__jnone(); v.type = HYBRID__J_INT; v.u.i = i; return v; }
static hybrid__jvalue hybrid__jfloat(double d) { hybrid__jvalue v = hybrid__jnone(); v.type = HYBRID__J_FLOAT; v.u.d = d; return v; }
static hybrid__jvalue hybrid__jundefined(hybrid__jstring *name, bool attribute)
{
    hybrid__jvalue v = hybrid__jnone();
    v.type = HYBRID__J_UNDEFINED;
    v.mark = attribute;
    v.u.s = name;
    return v;
}

/* A string over bytes that live as long as the arena. */
static bool hybrid__jstring_view(hybrid__jarena *arena, const char *p, size_t n, hybrid__jvalue *out)
{
    hybrid__jstring *s = (hybrid__jstring *)hybrid__jarena_alloc(arena, sizeof *s);
    if (!s) return false;
    s->p = p;
    s->n = n;
    s->chars = SIZE_MAX;
    s->buffer = NULL;
    out->type = HYBRID__J_STRING;
    out->mark = 0;
    out->u.s = s;
    return true;
}
static bool hybrid__jstring_copy(hybrid__jarena *arena, const char *p, size_t n, hybrid__jvalue *out)
{
    char *copy = (char *)hybrid__jarena_alloc(arena, n);
    if (!copy || !hybrid__jarena_work(arena, n / 16)) return false;
    if (n) memcpy(copy, p, n);
    return hybrid__jstring_view(arena, copy, n, out);
}
static bool hybrid__jstring_buffer(hybrid__jarena *arena, const hybrid__jbuffer *b, hybrid__jvalue *out)
{
    return hybrid__jstring_view(arena, b->data ? b->data : "", b->size, out);
}

/* a + b. A long a that is the end of its buffer is continued in place, so that building a text in a loop takes linear time. */
static bool hybrid__jstring_concat(hybrid__jarena *arena, hybrid__jstring *a, const char *p, size_t n, hybrid__jvalue *out)
{
    hybrid__jbuffer *b = a->buffer;
    if (!b || b->data != a->p || b->size != a->n) {
        if (!(b = (hybrid__jbuffer *)hybrid__jarena_alloc(arena, sizeof *b))) return false;
        b->data = NULL;
        b->size = b->capacity = 0;
        if (a->n + n < 256) {                                /* short: no spare room */
            b->capacity = a->n + n;
            if (!(b->data = (char *)hybrid__jarena_alloc(arena, b->capacity))) return false;
        }
        if (!hybrid__jbuffer_append(arena, b, a->p, a->n)) return false;
    }
    if (!hybrid__jbuffer_append(arena, b, p, n) || !hybrid__jstring_view(arena, b->data, b->size, out)) return false;
    out->u.s->buffer = b;
    return true;
}

static bool hybrid__jlist_new(hybrid__jarena *arena, size_t capacity, hybrid__jlist_kind kind, hybrid__jvalue *out)
{
    hybrid__jlist *l = (hybrid__jlist *)hybrid__jarena_alloc(arena, sizeof *l);
    if (!l || capacity > SIZE_MAX / 4 / sizeof(hybrid__jvalue)) return false;
    memset(l, 0, sizeof *l);
    l->kind = kind;
    if (capacity && !(l->items = (hybrid__jvalue *)hybrid__jarena_alloc(arena, capacity * sizeof(hybrid__jvalue)))) return false;
    l->capacity = capacity;
    out->type = HYBRID__J_LIST;
    out->mark = 0;
    out->u.list = l;
    return true;
}
static bool hybrid__jlist_push(hybrid__jarena *arena, hybrid__jlist *l, hybrid__jvalue v)
{
    if (!hybrid__jarena_work(arena, 1)) return false;
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 4;
        hybrid__jvalue *grown = capacity > SIZE_MAX / 4 / sizeof v ? NULL : (hybrid__jvalue *)hybrid__jarena_alloc(arena, capacity * sizeof v);
        if (!grown) return false;
        if (l->n) memcpy(grown, l->items, l->n * sizeof v);
        l->items = grown;
        l->capacity = capacity;
    }
    l->items[l->n++] = v;
    return true;
}
/* The elements [from, from + n), not copied. */
static bool hybrid__jlist_view(hybrid__jarena *arena, const hybrid__jlist *of, size_t from, size_t n, hybrid__jlist_kind kind, hybrid__jvalue *out)
{
    if (!hybrid__jlist_new(arena, 0, kind, out)) return false;
    out->u.list->items = n ? of->items + from : NULL;
    out->u.list->n = out->u.list->capacity = n;              /* full: a push would move it, never write into the other */
    return true;
}

/* ---- text ---- */

/* What Python's str.isspace and strip() take for white space. */
static bool hybrid__jspace(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A)
        || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Where the last character of [p, end) starts; p < end. */
static const char *hybrid__jlast_char(const char *p, const char *end)
{
    const char *q = end - 1;
    uint32_t code;
    while (q > p && end - q < 4 && ((unsigned char)*q & 0xC0) == 0x80) q--;
    return hybrid__utf8_read(q, end, &code) == (size_t)(end - q) ? q : end - 1;
}

/* [*p, *end) without white space at its ends. */
static void hybrid__jtrim(const char **p, const char **end, bool left, bool right)
{
    uint32_t code;
    while (left && *p < *end) {
        size_t n = hybrid__utf8_next(*p, *end, &code);
        if (!hybrid__jspace(code)) break;
        *p += n;
    }
    while (right && *p < *end) {
        const char *q = hybrid__jlast_char(*p, *end);
        hybrid__utf8_next(q, *end, &code);
        if (!hybrid__jspace(code)) break;
        *end = q;
    }
}

/* Counted once; takes steps like everything that walks over a text. */
static size_t hybrid__jstring_chars(hybrid__jarena *arena, hybrid__jstring *s)
{
    if (s->chars == SIZE_MAX) {
        const char *p = s->p, *end = s->p + s->n;
        size_t chars = 0;
        uint32_t code;
        for (; p < end; chars++) p += hybrid__utf8_next(p, end, &code);
        s->chars = chars;
        hybrid__jarena_work(arena, s->n / 8);
    }
    return s->chars;
}
/* The bytes before code point i (0..chars). */
static size_t hybrid__jstring_at(hybrid__jarena *arena, hybrid__jstring *s, size_t i)
{
    const char *p = s->p, *end = s->p + s->n;
    uint32_t code;
    if (hybrid__jstring_chars(arena, s) == s->n) return i;   /* ASCII */
    hybrid__jarena_work(arena, i / 4);
    for (; i && p < end; i--) p += hybrid__utf8_next(p, end, &code);
    return (size_t)(p - s->p);
}

static bool hybrid__jstring_is(const hybrid__jstring *s, const char *word)
{
    size_t n = strlen(word);
    return s->n == n && !memcmp(s->p, word, n);
}

/* The greatest suffix of x by one order of bytes or the other: where it starts, and its period. */
static size_t hybrid__jmax_suffix(const unsigned char *x, size_t m, bool reverse, size_t *period)
{
    size_t start = 0, at = 1, k = 0, p = 1;
    while (at + k < m) {
        unsigned char a = x[at + k], b = x[start + k];
        if (a == b) {
            if (k + 1 == p) { at += p; k = 0; }
            else k++;
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
static size_t hybrid__jfind_long(const unsigned char *y, size_t n, const unsigned char *x, size_t m)
{
    size_t p, q, cut = hybrid__jmax_suffix(x, m, false, &p), other = hybrid__jmax_suffix(x, m, true, &q), at, i, known = 0;
    bool periodic;
    if (other > cut) { cut = other; p = q; }
    periodic = p + cut <= m && !memcmp(x, x + p, cut);
    if (!periodic) p = HYBRID__MAX(cut, m - cut) + 1;
    for (at = 0; at + m <= n; ) {
        for (i = HYBRID__MAX(cut, known); i < m && x[i] == y[at + i]; i++) {}
        if (i < m) { at += i - cut + 1; known = 0; continue; }
        for (i = cut; i > known && x[i - 1] == y[at + i - 1]; i--) {}
        if (i <= known) return at;
        at += p;
        known = periodic ? m - p : 0;
    }
    return SIZE_MAX;
}

/* The first place of needle at or after from, SIZE_MAX: none. */
static size_t hybrid__jfind(const char *p, size_t n, const char *needle, size_t m, size_t from)
{
    if (from > n || m > n - from) return SIZE_MAX;
    if (!m) return from;
    if (m > 16) {
        size_t at = hybrid__jfind_long((const unsigned char *)p + from, n - from, (const unsigned char *)needle, m);
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
static size_t hybrid__jfind_last(hybrid__jarena *arena, const char *p, size_t n, const char *needle, size_t m)
{
    size_t at;
    if (m > n) return SIZE_MAX;
    for (at = n - m; ; at--) {
        if ((at % 64 == 0 || m > 64) && !hybrid__jarena_work(arena, 1 + m / 16)) return SIZE_MAX;
        if (!memcmp(p + at, needle, m)) return at;
        if (!at) return SIZE_MAX;
    }
}

/* ---- comparison ---- */

HYBRID__INLINE bool hybrid__jis_number(hybrid__jvalue v) { return v.type == HYBRID__J_BOOL || v.type == HYBRID__J_INT || v.type == HYBRID__J_FLOAT; }
HYBRID__INLINE bool hybrid__jis_whole(hybrid__jvalue v) { return v.type == HYBRID__J_BOOL || v.type == HYBRID__J_INT; }
HYBRID__INLINE int64_t hybrid__jwhole(hybrid__jvalue v) { return v.type == HYBRID__J_BOOL ? (int64_t)v.u.b : v.u.i; }
HYBRID__INLINE double hybrid__jreal(hybrid__jvalue v) { return v.type == HYBRID__J_FLOAT ? v.u.d : (double)hybrid__jwhole(v); }

static bool hybrid__jhash_address(hybrid__jarena *arena, const void *p, uint32_t *hash)
{
    uint64_t bits = (uint64_t)(uintptr_t)p;
    *hash = (uint32_t)hybrid__hash(&arena->rt->hash_key, &bits, 8);
    return true;
}

HYBRID__INLINE bool hybrid__jis_integer(hybrid__jvalue v) { return hybrid__jis_whole(v) || v.type == HYBRID__J_BIG; }

/* -1, 0, 1: an integer of any size against a float that is no nan, by their exact values. */
static HYBRID__NOINLINE int hybrid__jorder_mixed(hybrid__jvalue a, double d)
{
    const double most = 9223372036854775808.0;               /* 2^63 */
    char digits[400];
    size_t n, size;
    bool minus;
    int order;
    if (hybrid__jis_whole(a)) {
        int64_t v = hybrid__jwhole(a), whole;
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
static HYBRID__NOINLINE uint64_t hybrid__jhash_real(const hybrid__jarena *arena, double d)
{
    char digits[400];
    uint64_t bits;
    if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
        if (d == (double)(int64_t)d) bits = (uint64_t)(int64_t)d;
        else memcpy(&bits, &d, 8);
        return hybrid__hash(&arena->rt->hash_key, &bits, 8);
    }
    if (d - d != 0) return hybrid__hash(&arena->rt->hash_key, &d, 8);
    return hybrid__hash(&arena->rt->hash_key, digits, (size_t)snprintf(digits, sizeof digits, "%.0f", d));
}

/* As Python's hash: equal numbers of different types have one. Lists, dicts and their views cannot be keys. depth is 16 at most. */
static bool hybrid__jhash(hybrid__jarena *arena, hybrid__jvalue v, int depth, uint32_t *hash)
{
    uint64_t h = 14695981039346656037u, bits;
    size_t i;
    switch (v.type) {
    case HYBRID__J_STRING: case HYBRID__J_BIG: h = hybrid__hash(&arena->rt->hash_key, v.u.s->p, v.u.s->n); break;
    case HYBRID__J_FLOAT:
        h = hybrid__jhash_real(arena, v.u.d);
        break;
    case HYBRID__J_BOOL: case HYBRID__J_INT:
        bits = (uint64_t)hybrid__jwhole(v);
        h = hybrid__hash(&arena->rt->hash_key, &bits, 8);
        break;
    case HYBRID__J_NONE: case HYBRID__J_UNDEFINED: h = v.type; break;
    case HYBRID__J_LIST:
        if (v.u.list->kind == HYBRID__J_PLAIN || v.u.list->kind == HYBRID__J_VIEW || depth <= 0) return false;
        if (v.u.list->kind == HYBRID__J_ITERATOR) return hybrid__jhash_address(arena, v.u.list, hash);
        if (!hybrid__jarena_work(arena, v.u.list->n)) return false;
        for (i = 0; i < v.u.list->n; i++) {
            uint32_t one;
            if (!hybrid__jhash(arena, v.u.list->items[i], depth - 1, &one)) return false;
            h = (h ^ one) * 1099511628211u;
        }
        h = hybrid__hash(&arena->rt->hash_key, &h, 8);
        break;
    case HYBRID__J_FUNCTION: case HYBRID__J_LOOP: case HYBRID__J_NAMESPACE: return hybrid__jhash_address(arena, v.u.list, hash);
    default: return false;
    }
    *hash = (uint32_t)(h ^ h >> 32);
    return true;
}

static hybrid__jentry *hybrid__jdict_find(hybrid__jarena *arena, const hybrid__jdict *d, hybrid__jvalue key);

static int hybrid__jequal(hybrid__jarena *arena, hybrid__jvalue a, hybrid__jvalue b, int depth);

/* Views of keys and items are compared as sets, views of values never are the same. */
static int hybrid__jequal_views(hybrid__jarena *arena, const hybrid__jlist *a, const hybrid__jlist *b, int depth)
{
    size_t i, k;
    int same;
    if (a->label != b->label || !strcmp(a->label, "dict_values")) return 0;
    for (i = 0; i < a->n; i++) {
        for (k = 0, same = 0; k < b->n && !same; k++) if ((same = hybrid__jequal(arena, a->items[i], b->items[k], depth - 1)) < 0) return -1;
        if (!same) return 0;
    }
    return 1;
}

/* 1 equal, 0 not, -1: a limit was met (depth bounds what refers to itself). */
static int hybrid__jequal(hybrid__jarena *arena, hybrid__jvalue a, hybrid__jvalue b, int depth)
{
    size_t i;
    int same;
    if (!hybrid__jarena_work(arena, 1)) return -1;
    if (hybrid__jis_whole(a) && hybrid__jis_whole(b)) return hybrid__jwhole(a) == hybrid__jwhole(b);
    if (a.type == HYBRID__J_FLOAT && b.type == HYBRID__J_FLOAT) return a.u.d == b.u.d;
    if (a.type == HYBRID__J_FLOAT && hybrid__jis_integer(b)) return a.u.d == a.u.d && !hybrid__jorder_mixed(b, a.u.d);
    if (b.type == HYBRID__J_FLOAT && hybrid__jis_integer(a)) return b.u.d == b.u.d && !hybrid__jorder_mixed(a, b.u.d);
    if (a.type != b.type) return 0;
    if (a.type == HYBRID__J_STRING && !hybrid__jarena_work(arena, a.u.s->n / 16)) return -1;
    switch (a.type) {
    case HYBRID__J_STRING: case HYBRID__J_BIG: return a.u.s->n == b.u.s->n && !memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
    case HYBRID__J_LIST:
        if (a.u.list == b.u.list) return 1;
        if (!hybrid__jarena_room(arena, depth)) return -1;
        if (a.u.list->n != b.u.list->n || a.u.list->kind != b.u.list->kind || a.u.list->kind == HYBRID__J_ITERATOR) return 0;
        if (a.u.list->kind == HYBRID__J_VIEW) return hybrid__jequal_views(arena, a.u.list, b.u.list, depth);
        for (i = 0; i < a.u.list->n; i++)
            if ((same = hybrid__jequal(arena, a.u.list->items[i], b.u.list->items[i], depth - 1)) != 1) return same;
        return 1;
    case HYBRID__J_DICT:
        if (a.u.dict == b.u.dict) return 1;
        if (!hybrid__jarena_room(arena, depth)) return -1;
        if (a.u.dict->n != b.u.dict->n) return 0;
        for (i = 0; i < a.u.dict->n; i++) {
            const hybrid__jentry *e = hybrid__jdict_find(arena, b.u.dict, a.u.dict->entries[i].key);
            if (arena->result) return -1;
            if (!e) return 0;
            if ((same = hybrid__jequal(arena, a.u.dict->entries[i].value, e->value, depth - 1)) != 1) return same;
        }
        return 1;
    case HYBRID__J_NONE: case HYBRID__J_UNDEFINED: return 1;
    default: return a.u.dict == b.u.dict;                    /* identity */
    }
}

/* ---- dicts ---- */

static bool hybrid__jdict_new(hybrid__jarena *arena, hybrid__jvalue *out)
{
    hybrid__jdict *d = (hybrid__jdict *)hybrid__jarena_alloc(arena, sizeof *d);
    if (!d) return false;
    memset(d, 0, sizeof *d);
    out->type = HYBRID__J_DICT;
    out->mark = 0;
    out->u.dict = d;
    return true;
}

enum { HYBRID__J_KEY_DEPTH = 16 };

static hybrid__jentry *hybrid__jdict_find(hybrid__jarena *arena, const hybrid__jdict *d, hybrid__jvalue key)
{
    uint32_t hash, i, slot;
    if (key.type == HYBRID__J_STRING && !hybrid__jarena_work(arena, key.u.s->n / 16)) return NULL;
    if (!hybrid__jhash(arena, key, HYBRID__J_KEY_DEPTH, &hash)) return NULL;
    if (!d->slots) {
        for (i = 0; i < d->n; i++)
            if (d->entries[i].hash == hash && hybrid__jequal(arena, d->entries[i].key, key, HYBRID__J_KEY_DEPTH) == 1) return &d->entries[i];
        return NULL;
    }
    for (i = hash & (d->n_slots - 1); (slot = d->slots[i]) != 0; i = (i + 1) & (d->n_slots - 1)) {
        if (!hybrid__jarena_work(arena, 1)) return NULL;
        if (d->entries[slot - 1].hash == hash && hybrid__jequal(arena, d->entries[slot - 1].key, key, HYBRID__J_KEY_DEPTH) == 1) return &d->entries[slot - 1];
    }
    return NULL;
}

static bool hybrid__jdict_grow(hybrid__jarena *arena, hybrid__jdict *d)
{
    uint32_t capacity = d->capacity ? d->capacity * 2 : 4, i;
    hybrid__jentry *entries;
    if (capacity > UINT32_MAX / 8) { arena->result = HYBRID_ERROR_LIMIT; return false; }
    if (!(entries = (hybrid__jentry *)hybrid__jarena_alloc(arena, (size_t)capacity * sizeof *entries))) return false;
    if (d->n) memcpy(entries, d->entries, d->n * sizeof *entries);
    if (capacity > 8) {
        uint32_t n_slots = capacity * 2, at;
        uint32_t *slots = (uint32_t *)hybrid__jarena_alloc(arena, (size_t)n_slots * sizeof *slots);
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

/* Only namespaces are changed once a template knows them. False: no memory, or the key is none (then arena->result is still OK). */
static bool hybrid__jdict_set(hybrid__jarena *arena, hybrid__jdict *d, hybrid__jvalue key, hybrid__jvalue value)
{
    hybrid__jentry *e = hybrid__jdict_find(arena, d, key);
    uint32_t hash, at;
    if (arena->result || !hybrid__jhash(arena, key, HYBRID__J_KEY_DEPTH, &hash)) return false;
    if (e) { e->value = value; return true; }
    if (d->n == d->capacity && !hybrid__jdict_grow(arena, d)) return false;
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
static hybrid__jvalue *hybrid__jdict_get(hybrid__jarena *arena, const hybrid__jdict *d, const char *name)
{
    hybrid__jstring s;
    hybrid__jvalue key = hybrid__jnone();
    hybrid__jentry *e;
    s.p = name; s.n = strlen(name); s.chars = SIZE_MAX; s.buffer = NULL;
    key.type = HYBRID__J_STRING;
    key.u.s = &s;
    e = hybrid__jdict_find(arena, d, key);
    return e ? &e->value : NULL;
}
static bool hybrid__jdict_put(hybrid__jarena *arena, hybrid__jdict *d, const char *name, hybrid__jvalue value)
{
    hybrid__jvalue key;
    return hybrid__jstring_view(arena, name, strlen(name), &key) && hybrid__jdict_set(arena, d, key, value);
}

/* One JSON value; a container is empty still. */
static bool hybrid__jfrom_json_one(hybrid__jarena *arena, const hybrid__json *json, hybrid__jvalue *out)
{
    switch (json->type) {
    case HYBRID__JSON_NULL: *out = hybrid__jnone(); return true;
    case HYBRID__JSON_BOOL: *out = hybrid__jbool(json->u.b); return true;
    case HYBRID__JSON_INT: *out = hybrid__jint(json->u.i); return true;
    case HYBRID__JSON_REAL: *out = hybrid__jfloat(json->u.d); return true;
    case HYBRID__JSON_STRING: return hybrid__jstring_view(arena, json->u.s, json->n, out);
    case HYBRID__JSON_BIG:
        if (!hybrid__jstring_view(arena, json->u.s, json->n, out)) return false;
        out->type = HYBRID__J_BIG;
        return true;
    case HYBRID__JSON_ARRAY: return hybrid__jlist_new(arena, json->n, HYBRID__J_PLAIN, out);
    default: return hybrid__jdict_new(arena, out);
    }
}

/* A container whose members are still to come. */
typedef struct hybrid__jopen { struct hybrid__jopen *up; hybrid__jvalue to; uint32_t left; } hybrid__jopen;

/* A JSON tree as values; its strings are not copied, so the document must outlive them. Does not recurse: open containers wait in a
 * row, and their members come in the order of the tree's nodes. */
static bool hybrid__jfrom_json(hybrid__jarena *arena, const hybrid__json *json, hybrid__jvalue *out)
{
    hybrid__jopen *open = NULL, *spare = NULL, *l;
    const hybrid__json *p = json;
    hybrid__jvalue key = hybrid__jnone(), value;
    do {
        while (open && !open->left) {                        /* full: the next value belongs to the one around */
            l = open;
            open = l->up;
            l->up = spare;
            spare = l;
        }
        if (p != json && !open) return true;
        if (open && open->to.type == HYBRID__J_DICT) {
            if (!hybrid__jstring_view(arena, p->u.s, p->n, &key)) return false;
            p++;
        }
        if (!hybrid__jfrom_json_one(arena, p, &value)) return false;
        if (!open) *out = value;
        else {
            open->left--;
            if (open->to.type == HYBRID__J_DICT ? !hybrid__jdict_set(arena, open->to.u.dict, key, value)
                : !hybrid__jlist_push(arena, open->to.u.list, value)) return false;
        }
        if (p->type >= HYBRID__JSON_ARRAY) {
            if ((l = spare) != NULL) spare = l->up;
            else if (!(l = (hybrid__jopen *)hybrid__jarena_alloc(arena, sizeof *l))) return false;
            l->up = open;
            l->to = value;
            l->left = p->n;
            open = l;
        }
        p++;
    } while (open);
    return true;
}
