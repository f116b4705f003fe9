/* text/jinja/dict: when two values are equal, and dicts, which find a key by that; and JSON as values. */
#ifndef HYB_TEXT_JINJA_DICT_C
#define HYB_TEXT_JINJA_DICT_C
#include "value.c"
#include "../../core/hash.c"
#include "../../core/json.c"

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

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

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
