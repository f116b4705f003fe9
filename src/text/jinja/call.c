/* text/jinja/call: how the functions that templates know are described and get their arguments, and what all of them
 * need: truth, order, iteration, attributes. */
#ifndef HYB_TEXT_JINJA_CALL_C
#define HYB_TEXT_JINJA_CALL_C
#include "print.c"

typedef struct hyb_jargs {
    size_t n, n_named;
    hyb_jvalue *v; /* the positional ones */
    hyb_jstring **names;
    hyb_jvalue *named;
} hyb_jargs;

enum { HYB_J_PARAMS = 6 };
typedef struct hyb_jcall {
    hyb_jvalue self;            /* what a filter, test or method works on */
    hyb_jvalue a[HYB_J_PARAMS]; /* by parameter; MISSING when not given */
    const hyb_jargs *args;      /* as written, for those that take any */
    const char *name;
} hyb_jcall;

typedef bool (*hyb_jfn)(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out);

/* params: names in order, separated by one space; "/": they cannot be given by name; "*": anything goes. */
typedef struct hyb_jbuiltin {
    const char *name, *params;
    int required;
    hyb_jfn fn;
} hyb_jbuiltin;

static const hyb_jbuiltin *hyb_jbuiltin_find(const hyb_jbuiltin *table, size_t n, const char *name, size_t n_name)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (strlen(table[i].name) == n_name && !memcmp(table[i].name, name, n_name)) return &table[i];
    return NULL;
}

/* The place of a name in a list of words separated by spaces, or -1. */
static int hyb_jword(const char *words, const char *name, size_t n)
{
    int index = 0;
    for (; *words; index++) {
        size_t length = strcspn(words, " ");
        if (length == n && !memcmp(words, name, n)) return index;
        words += length;
        while (*words == ' ') words++;
    }
    return -1;
}

/* Bytes or elements. */
static size_t hyb_jsize(hyb_jvalue v)
{
    return v.type == HYB_J_STRING ? v.u.s->n
           : v.type == HYB_J_LIST ? v.u.list->n
           : v.type == HYB_J_DICT ? v.u.dict->n
                                  : 0;
}

static bool hyb_jbuiltin_call(hyb_jinja *j, const hyb_jbuiltin *f, hyb_jvalue self, const hyb_jargs *args,
                              hyb_jvalue *out)
{
    hyb_jcall c;
    bool by_place = *f->params == '/';
    const char *params = f->params + by_place, *p;
    int count = *params != 0, i;
    size_t k;
    uint64_t work = 1 + hyb_jsize(self) / 8; /* what it walks over, at least once */
    for (k = 0; k < args->n; k++) work += hyb_jsize(args->v[k]) / 16;
    if (!hyb_jarena_work(&j->arena, work)) return hyb_jinja_spent(j);
    c.self = self;
    c.args = args;
    c.name = f->name;
    if (*f->params == '*') return f->fn(j, &c, out);
    for (p = params; *p; p++) count += *p == ' ';
    if (by_place && args->n_named && !j->js)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes no arguments by name", f->name);
    for (i = 0; i < HYB_J_PARAMS; i++) {
        c.a[i] = hyb_jnone();
        c.a[i].type = HYB_J_MISSING;
    }
    if (args->n > (size_t)count)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes at most %d arguments, %lu are given", f->name, count,
                              (unsigned long)args->n);
    for (k = 0; k < args->n; k++) c.a[k] = args->v[k];
    for (k = 0; k < args->n_named; k++) {
        i = hyb_jword(params, args->names[k]->p, args->names[k]->n);
        if (i < 0)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s has no parameter '%.*s'", f->name,
                                  (int)HYB_MIN(args->names[k]->n, (size_t)60), args->names[k]->p);
        if (c.a[i].type != HYB_J_MISSING)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s got two values for one parameter", f->name);
        c.a[i] = args->named[k];
    }
    for (i = 0; i < f->required; i++)
        if (c.a[i].type == HYB_J_MISSING)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s needs %d arguments", f->name, f->required);
    return f->fn(j, &c, out);
}

/* ---- what functions need of values ------------------------------------------------------------------------------- */

static bool hyb_jtruth(hyb_jvalue v)
{
    switch (v.type) {
    case HYB_J_UNDEFINED:
    case HYB_J_NONE:
    case HYB_J_MISSING: return false;
    case HYB_J_BOOL:
    case HYB_J_INT: return hyb_jwhole(v) != 0;
    case HYB_J_FLOAT: return v.u.d != 0;
    case HYB_J_STRING: return v.u.s->n != 0;
    case HYB_J_BIG: return true;
    case HYB_J_LIST: return v.u.list->n != 0 || v.u.list->kind == HYB_J_ITERATOR;
    case HYB_J_DICT: return v.u.dict->n != 0;
    default: return true;
    }
}

/* An argument that is true, or that was not given and is true by default. */
static bool hyb_jflag(hyb_jvalue v, bool missing) { return v.type == HYB_J_MISSING ? missing : hyb_jtruth(v); }

static bool hyb_jinja_want_int(hyb_jinja *j, const char *who, hyb_jvalue v, int64_t missing, int64_t *out)
{
    *out = missing;
    if (v.type == HYB_J_MISSING || v.type == HYB_J_NONE) return true;
    if (!hyb_jis_whole(v))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects an integer, not a %s", who, hyb_jtype_name(v));
    *out = hyb_jwhole(v);
    return true;
}
static bool hyb_jinja_want_string(hyb_jinja *j, const char *who, hyb_jvalue v, hyb_jstring **out)
{
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    if (v.type != HYB_J_STRING)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects a string, not a %s", who, hyb_jtype_name(v));
    *out = v.u.s;
    return true;
}

/* A number of any size as a float. */
static double hyb_jbig_real(hyb_jvalue v)
{
    double d = 0;
    if (v.type != HYB_J_BIG) return hyb_jreal(v);
    hyb_decimal_read(v.u.s->p, v.u.s->p + v.u.s->n, &d);
    return d;
}

/* -1, 0, 1 in order. Equal values compare, whatever their type; other pairs must be numbers, strings or lists. */
static bool hyb_jinja_order(hyb_jinja *j, hyb_jvalue a, hyb_jvalue b, int *order)
{
    int same = hyb_jequal(&j->arena, a, b, j->depth);
    size_t i;
    if (same < 0) return hyb_jinja_spent(j);
    *order = 0;
    if (same) return true;
    if (hyb_jis_whole(a) && hyb_jis_whole(b)) {
        *order = hyb_jwhole(a) < hyb_jwhole(b) ? -1 : 1;
        return true;
    }
    if (a.type == HYB_J_BIG || b.type == HYB_J_BIG) {
        hyb_jvalue big = a.type == HYB_J_BIG ? a : b;
        bool minus = big.u.s->p[0] == '-', both = a.type == b.type;
        if (both && (b.u.s->p[0] == '-') == minus) {
            int digits = a.u.s->n != b.u.s->n ? (a.u.s->n < b.u.s->n ? -1 : 1) : memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
            *order = (digits < 0) == minus ? 1 : -1;
            return true;
        }
        if (both || hyb_jis_whole(a) || hyb_jis_whole(b)) {
            *order = (a.type == HYB_J_BIG) == minus ? -1 : 1;
            return true;
        }
    }
    if (a.type == HYB_J_FLOAT && hyb_jis_integer(b)) {
        *order = -hyb_jorder_mixed(b, a.u.d);
        return true;
    }
    if (b.type == HYB_J_FLOAT && hyb_jis_integer(a)) {
        *order = hyb_jorder_mixed(a, b.u.d);
        return true;
    }
    if (hyb_jis_number(a) && hyb_jis_number(b)) {
        *order = hyb_jreal(a) < hyb_jreal(b) ? -1 : 1;
        return true;
    }
    if (a.type == HYB_J_STRING && b.type == HYB_J_STRING) {
        size_t n = HYB_MIN(a.u.s->n, b.u.s->n);
        int bytes = n ? memcmp(a.u.s->p, b.u.s->p, n) : 0;
        *order = bytes ? (bytes < 0 ? -1 : 1) : a.u.s->n < b.u.s->n ? -1 : 1;
        return true;
    }
    if (a.type == HYB_J_LIST && b.type == HYB_J_LIST &&
        ((a.u.list->kind == b.u.list->kind && a.u.list->kind <= HYB_J_TUPLE) || j->js)) {
        const hyb_jlist *x = a.u.list, *y = b.u.list;
        bool ok = true;
        if (!hyb_jinja_enter(j)) return false;
        for (i = 0; ok && !*order && i < x->n && i < y->n; i++)
            ok = hyb_jinja_order(j, x->items[i], y->items[i], order);
        j->depth++;
        if (ok && !*order) *order = x->n < y->n ? -1 : x->n > y->n;
        return ok;
    }
    if (a.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, a);
    if (b.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, b);
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s and a %s have no order", hyb_jtype_name(a), hyb_jtype_name(b));
}

/* False, and an error, when Python cannot say which of two such values is less, even where they are equal. */
static bool hyb_jinja_has_order(hyb_jinja *j, hyb_jvalue v)
{
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    if (v.type > HYB_J_NONE && v.type < HYB_J_LIST) return true;
    if (v.type == HYB_J_LIST && v.u.list->kind <= HYB_J_TUPLE) return true;
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "two values of type %s have no order", hyb_jtype_name(v));
}

/* False, and an error, when v cannot be a key. */
static bool hyb_jinja_key(hyb_jinja *j, hyb_jvalue v)
{
    uint32_t hash;
    return hyb_jhash(&j->arena, v, HYB_J_KEY_DEPTH, &hash) || hyb_jinja_spent(j);
}

/* What makes the items of an iterator when they are asked for. */
struct hyb_jlater {
    const hyb_jbuiltin *f;
    hyb_jvalue self;
    hyb_jargs args;
};

/* An iterator that f will fill; at once in the dialect that knows no iterators. label: as Python prints it. */
static bool hyb_jinja_later(hyb_jinja *j, const hyb_jbuiltin *f, hyb_jcall *c, const char *label, hyb_jvalue *out)
{
    hyb_jlater *later;
    if (j->js) return f->fn(j, c, out);
    if (!(later = (hyb_jlater *)hyb_jarena_alloc(&j->arena, sizeof *later)) ||
        !hyb_jlist_new(&j->arena, 0, HYB_J_ITERATOR, out))
        return hyb_jinja_spent(j);
    later->f = f;
    later->self = c->self;
    later->args = *c->args;
    out->u.list->later = later;
    out->u.list->label = label;
    return true;
}
/* Its items, made now. */
static bool hyb_jinja_wake(hyb_jinja *j, hyb_jlist *l)
{
    const hyb_jlater *later = l->later;
    hyb_jvalue made = hyb_jnone();
    bool ok;
    if (!later) return true;
    if (!hyb_jinja_enter(j)) return false;
    l->later = NULL;
    ok = hyb_jbuiltin_call(j, later->f, later->self, &later->args, &made);
    j->depth++;
    if (!ok) return false;
    l->items = made.u.list->items;
    l->n = made.u.list->n;
    return true;
}

/* What a for loop walks over: elements, characters, keys. An iterator is empty afterwards (but not for
 * huggingface.js). */
static bool hyb_jinja_items(hyb_jinja *j, hyb_jvalue v, hyb_jlist **items)
{
    hyb_jvalue list, one;
    const char *p, *end;
    uint32_t code, i;
    switch (v.type) {
    case HYB_J_LIST:
        *items = v.u.list;
        if (v.u.list->kind != HYB_J_ITERATOR || j->js) return true;
        if (!hyb_jinja_wake(j, v.u.list)) return false;
        if (!hyb_jlist_view(&j->arena, v.u.list, 0, v.u.list->n, HYB_J_PLAIN, &list)) return hyb_jinja_spent(j);
        v.u.list->n = 0;
        break;
    case HYB_J_STRING:
        if (!hyb_jlist_new(&j->arena, hyb_jstring_chars(&j->arena, v.u.s), HYB_J_PLAIN, &list))
            return hyb_jinja_spent(j);
        for (p = v.u.s->p, end = p + v.u.s->n; p < end; p += code) {
            code = (uint32_t)hyb_utf8_next(p, end, &i);
            if (!hyb_jstring_view(&j->arena, p, code, &one) || !hyb_jlist_push(&j->arena, list.u.list, one))
                return hyb_jinja_spent(j);
        }
        break;
    case HYB_J_DICT:
        if (!hyb_jlist_new(&j->arena, v.u.dict->n, HYB_J_PLAIN, &list)) return hyb_jinja_spent(j);
        for (i = 0; i < v.u.dict->n; i++)
            if (!hyb_jlist_push(&j->arena, list.u.list, v.u.dict->entries[i].key)) return hyb_jinja_spent(j);
        break;
    case HYB_J_UNDEFINED:
        if (!hyb_jlist_new(&j->arena, 0, HYB_J_PLAIN, &list)) return hyb_jinja_spent(j);
        break;
    default: return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be iterated over", hyb_jtype_name(v));
    }
    *items = list.u.list;
    return true;
}

static bool hyb_jinja_new_list(hyb_jinja *j, size_t capacity, hyb_jlist_kind kind, hyb_jvalue *out)
{
    return hyb_jlist_new(&j->arena, capacity, kind, out) || hyb_jinja_spent(j);
}
static bool hyb_jinja_push(hyb_jinja *j, hyb_jvalue list, hyb_jvalue v)
{
    return hyb_jlist_push(&j->arena, list.u.list, v) || hyb_jinja_spent(j);
}
static bool hyb_jinja_view(hyb_jinja *j, const char *p, size_t n, hyb_jvalue *out)
{
    return hyb_jstring_view(&j->arena, p, n, out) || hyb_jinja_spent(j);
}
static bool hyb_jinja_text(hyb_jinja *j, const hyb_jbuffer *b, hyb_jvalue *out)
{
    return hyb_jstring_buffer(&j->arena, b, out) || hyb_jinja_spent(j);
}
static bool hyb_jinja_pair(hyb_jinja *j, hyb_jvalue a, hyb_jvalue b, hyb_jvalue *out)
{
    return hyb_jinja_new_list(j, 2, HYB_J_TUPLE, out) && hyb_jinja_push(j, *out, a) && hyb_jinja_push(j, *out, b);
}

/* An index from the end when negative; false: outside of 0..n-1. */
static bool hyb_jindex(int64_t i, size_t n, size_t *index)
{
    if (i < 0) i += (int64_t)n;
    if (i < 0 || (uint64_t)i >= n) return false;
    *index = (size_t)i;
    return true;
}

/* Merge sort of items by keys: stable, at most n log n comparisons, also when the order makes no sense. */
static bool hyb_jinja_sort(hyb_jinja *j, hyb_jvalue *items, hyb_jvalue *keys, size_t n, bool reverse)
{
    hyb_jvalue *spare, *from_items = items, *from_keys = keys, *to_items, *to_keys, *swap;
    size_t width, i, k;
    if (n < 2) return true;
    if (!(spare = (hyb_jvalue *)hyb_jarena_alloc(&j->arena, n * 2 * sizeof *spare))) return hyb_jinja_spent(j);
    to_items = spare;
    to_keys = spare + n;
    for (width = 1; width < n; width *= 2) {
        for (i = 0; i < n; i += 2 * width) {
            size_t a = i, a_end = HYB_MIN(i + width, n), b = a_end, b_end = HYB_MIN(i + 2 * width, n);
            for (k = i; k < b_end; k++) {
                bool first = b >= b_end;
                if (a < a_end && !first) {
                    int order;
                    if (!hyb_jinja_order(j, from_keys[a], from_keys[b], &order)) return false;
                    first = reverse ? order >= 0 : order <= 0;
                }
                to_items[k] = first ? from_items[a] : from_items[b];
                to_keys[k] = first ? from_keys[a++] : from_keys[b++];
            }
        }
        swap = from_items;
        from_items = to_items;
        to_items = swap;
        swap = from_keys;
        from_keys = to_keys;
        to_keys = swap;
    }
    if (from_items != items) {
        memcpy(items, from_items, n * sizeof *items);
        memcpy(keys, from_keys, n * sizeof *keys);
    }
    return true;
}

/* The keys of a dict in order, for tojson(sort_keys=true). */
static bool hyb_jinja_sort_keys(hyb_jinja *j, const hyb_jdict *d, hyb_jlist **keys)
{
    hyb_jvalue list;
    hyb_jvalue *order = (hyb_jvalue *)hyb_jarena_alloc(&j->arena, d->n * sizeof *order);
    uint32_t i;
    if (!order) return hyb_jinja_spent(j);
    if (!hyb_jinja_new_list(j, d->n, HYB_J_PLAIN, &list)) return false;
    for (i = 0; i < d->n; i++) {
        order[i] = d->entries[i].key;
        if (!hyb_jinja_push(j, list, order[i])) return false;
    }
    *keys = list.u.list;
    return hyb_jinja_sort(j, list.u.list->items, order, d->n, false);
}
#endif
