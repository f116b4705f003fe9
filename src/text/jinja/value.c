/* text/jinja/value: what a template computes with: strings, lists and dicts that are never changed once a template can
 * see them, so that they can share memory. Their kinds, how they are made, and what is looked for in a text. */
#ifndef HYB_TEXT_JINJA_VALUE_C
#define HYB_TEXT_JINJA_VALUE_C
#include "arena.c"
#include "../../core/utf8.c"

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
#endif
