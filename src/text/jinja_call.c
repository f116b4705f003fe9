/* text/jinja_call: how the functions that templates know are described and get their arguments, and what all of them need:
 * truth, order, iteration, attributes. */

typedef struct hybrid__jargs {
    size_t           n, n_named;
    hybrid__jvalue  *v;                  /* the positional ones */
    hybrid__jstring **names;
    hybrid__jvalue  *named;
} hybrid__jargs;

enum { HYBRID__J_PARAMS = 6 };
typedef struct hybrid__jcall {
    hybrid__jvalue       self;           /* what a filter, test or method works on */
    hybrid__jvalue       a[HYBRID__J_PARAMS];   /* by parameter; MISSING when not given */
    const hybrid__jargs *args;           /* as written, for those that take any */
    const char          *name;
} hybrid__jcall;

typedef bool (*hybrid__jfn)(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out);

/* params: names in order, separated by one space; "/": they cannot be given by name; "*": anything goes. */
typedef struct hybrid__jbuiltin { const char *name, *params; int required; hybrid__jfn fn; } hybrid__jbuiltin;

static const hybrid__jbuiltin *hybrid__jbuiltin_find(const hybrid__jbuiltin *table, size_t n, const char *name, size_t n_name)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (strlen(table[i].name) == n_name && !memcmp(table[i].name, name, n_name)) return &table[i];
    return NULL;
}

/* The place of a name in a list of words separated by spaces, or -1. */
static int hybrid__jword(const char *words, const char *name, size_t n)
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
static size_t hybrid__jsize(hybrid__jvalue v)
{
    return v.type == HYBRID__J_STRING ? v.u.s->n : v.type == HYBRID__J_LIST ? v.u.list->n : v.type == HYBRID__J_DICT ? v.u.dict->n : 0;
}

static bool hybrid__jbuiltin_call(hybrid__jinja *j, const hybrid__jbuiltin *f, hybrid__jvalue self, const hybrid__jargs *args, hybrid__jvalue *out)
{
    hybrid__jcall c;
    bool by_place = *f->params == '/';
    const char *params = f->params + by_place, *p;
    int count = *params != 0, i;
    size_t k;
    uint64_t work = 1 + hybrid__jsize(self) / 8;             /* what it walks over, at least once */
    for (k = 0; k < args->n; k++) work += hybrid__jsize(args->v[k]) / 16;
    if (!hybrid__jarena_work(&j->arena, work)) return hybrid__jinja_spent(j);
    c.self = self;
    c.args = args;
    c.name = f->name;
    if (*f->params == '*') return f->fn(j, &c, out);
    for (p = params; *p; p++) count += *p == ' ';
    if (by_place && args->n_named && !j->js) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes no arguments by name", f->name);
    for (i = 0; i < HYBRID__J_PARAMS; i++) { c.a[i] = hybrid__jnone(); c.a[i].type = HYBRID__J_MISSING; }
    if (args->n > (size_t)count) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes at most %d arguments, %lu are given", f->name, count, (unsigned long)args->n);
    for (k = 0; k < args->n; k++) c.a[k] = args->v[k];
    for (k = 0; k < args->n_named; k++) {
        i = hybrid__jword(params, args->names[k]->p, args->names[k]->n);
        if (i < 0) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s has no parameter '%.*s'", f->name, (int)HYBRID__MIN(args->names[k]->n, (size_t)60), args->names[k]->p);
        if (c.a[i].type != HYBRID__J_MISSING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s got two values for one parameter", f->name);
        c.a[i] = args->named[k];
    }
    for (i = 0; i < f->required; i++)
        if (c.a[i].type == HYBRID__J_MISSING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s needs %d arguments", f->name, f->required);
    return f->fn(j, &c, out);
}

/* ---- what functions need of values ---- */

static bool hybrid__jtruth(hybrid__jvalue v)
{
    switch (v.type) {
    case HYBRID__J_UNDEFINED: case HYBRID__J_NONE: case HYBRID__J_MISSING: return false;
    case HYBRID__J_BOOL: case HYBRID__J_INT: return hybrid__jwhole(v) != 0;
    case HYBRID__J_FLOAT: return v.u.d != 0;
    case HYBRID__J_STRING: return v.u.s->n != 0;
    case HYBRID__J_BIG: return true;
    case HYBRID__J_LIST: return v.u.list->n != 0 || v.u.list->kind == HYBRID__J_ITERATOR;
    case HYBRID__J_DICT: return v.u.dict->n != 0;
    default: return true;
    }
}

/* An argument that is true, or that was not given and is true by default. */
static bool hybrid__jflag(hybrid__jvalue v, bool missing) { return v.type == HYBRID__J_MISSING ? missing : hybrid__jtruth(v); }

static bool hybrid__jinja_want_int(hybrid__jinja *j, const char *who, hybrid__jvalue v, int64_t missing, int64_t *out)
{
    *out = missing;
    if (v.type == HYBRID__J_MISSING || v.type == HYBRID__J_NONE) return true;
    if (!hybrid__jis_whole(v)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects an integer, not a %s", who, hybrid__jtype_name(v));
    *out = hybrid__jwhole(v);
    return true;
}
static bool hybrid__jinja_want_string(hybrid__jinja *j, const char *who, hybrid__jvalue v, hybrid__jstring **out)
{
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    if (v.type != HYBRID__J_STRING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects a string, not a %s", who, hybrid__jtype_name(v));
    *out = v.u.s;
    return true;
}

/* A number of any size as a float. */
static double hybrid__jbig_real(hybrid__jvalue v)
{
    double d = 0;
    if (v.type != HYBRID__J_BIG) return hybrid__jreal(v);
    hybrid__decimal_read(v.u.s->p, v.u.s->p + v.u.s->n, &d);
    return d;
}

/* -1, 0, 1 in order. Equal values compare, whatever their type; other pairs must be numbers, strings or lists. */
static bool hybrid__jinja_order(hybrid__jinja *j, hybrid__jvalue a, hybrid__jvalue b, int *order)
{
    int same = hybrid__jequal(&j->arena, a, b, j->depth);
    size_t i;
    if (same < 0) return hybrid__jinja_spent(j);
    *order = 0;
    if (same) return true;
    if (hybrid__jis_whole(a) && hybrid__jis_whole(b)) { *order = hybrid__jwhole(a) < hybrid__jwhole(b) ? -1 : 1; return true; }
    if (a.type == HYBRID__J_BIG || b.type == HYBRID__J_BIG) {
        hybrid__jvalue big = a.type == HYBRID__J_BIG ? a : b;
        bool minus = big.u.s->p[0] == '-', both = a.type == b.type;
        if (both && (b.u.s->p[0] == '-') == minus) {
            int digits = a.u.s->n != b.u.s->n ? (a.u.s->n < b.u.s->n ? -1 : 1) : memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
            *order = (digits < 0) == minus ? 1 : -1;
            return true;
        }
        if (both || hybrid__jis_whole(a) || hybrid__jis_whole(b)) { *order = (a.type == HYBRID__J_BIG) == minus ? -1 : 1; return true; }
    }
    if (a.type == HYBRID__J_FLOAT && hybrid__jis_integer(b)) { *order = -hybrid__jorder_mixed(b, a.u.d); return true; }
    if (b.type == HYBRID__J_FLOAT && hybrid__jis_integer(a)) { *order = hybrid__jorder_mixed(a, b.u.d); return true; }
    if (hybrid__jis_number(a) && hybrid__jis_number(b)) { *order = hybrid__jreal(a) < hybrid__jreal(b) ? -1 : 1; return true; }
    if (a.type == HYBRID__J_STRING && b.type == HYBRID__J_STRING) {
        size_t n = HYBRID__MIN(a.u.s->n, b.u.s->n);
        int bytes = n ? memcmp(a.u.s->p, b.u.s->p, n) : 0;
        *order = bytes ? (bytes < 0 ? -1 : 1) : a.u.s->n < b.u.s->n ? -1 : 1;
        return true;
    }
    if (a.type == HYBRID__J_LIST && b.type == HYBRID__J_LIST && ((a.u.list->kind == b.u.list->kind && a.u.list->kind <= HYBRID__J_TUPLE) || j->js)) {
        const hybrid__jlist *x = a.u.list, *y = b.u.list;
        bool ok = true;
        if (!hybrid__jinja_enter(j)) return false;
        for (i = 0; ok && !*order && i < x->n && i < y->n; i++) ok = hybrid__jinja_order(j, x->items[i], y->items[i], order);
        j->depth++;
        if (ok && !*order) *order = x->n < y->n ? -1 : x->n > y->n;
        return ok;
    }
    if (a.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, a);
    if (b.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, b);
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s and a %s have no order", hybrid__jtype_name(a), hybrid__jtype_name(b));
}

/* False, and an error, when Python cannot say which of two such values is less, even where they are equal. */
static bool hybrid__jinja_has_order(hybrid__jinja *j, hybrid__jvalue v)
{
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    if (v.type > HYBRID__J_NONE && v.type < HYBRID__J_LIST) return true;
    if (v.type == HYBRID__J_LIST && v.u.list->kind <= HYBRID__J_TUPLE) return true;
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "two values of type %s have no order", hybrid__jtype_name(v));
}

/* False, and an error, when v cannot be a key. */
static bool hybrid__jinja_key(hybrid__jinja *j, hybrid__jvalue v)
{
    uint32_t hash;
    return hybrid__jhash(&j->arena, v, HYBRID__J_KEY_DEPTH, &hash) || hybrid__jinja_spent(j);
}

/* What makes the items of an iterator when they are asked for. */
struct hybrid__jlater { const hybrid__jbuiltin *f; hybrid__jvalue self; hybrid__jargs args; };

/* An iterator that f will fill; at once in the dialect that knows no iterators. label: as Python prints it. */
static bool hybrid__jinja_later(hybrid__jinja *j, const hybrid__jbuiltin *f, hybrid__jcall *c, const char *label, hybrid__jvalue *out)
{
    hybrid__jlater *later;
    if (j->js) return f->fn(j, c, out);
    if (!(later = (hybrid__jlater *)hybrid__jarena_alloc(&j->arena, sizeof *later)) || !hybrid__jlist_new(&j->arena, 0, HYBRID__J_ITERATOR, out))
        return hybrid__jinja_spent(j);
    later->f = f;
    later->self = c->self;
    later->args = *c->args;
    out->u.list->later = later;
    out->u.list->label = label;
    return true;
}
/* Its items, made now. */
static bool hybrid__jinja_wake(hybrid__jinja *j, hybrid__jlist *l)
{
    const hybrid__jlater *later = l->later;
    hybrid__jvalue made = hybrid__jnone();
    bool ok;
    if (!later) return true;
    if (!hybrid__jinja_enter(j)) return false;
    l->later = NULL;
    ok = hybrid__jbuiltin_call(j, later->f, later->self, &later->args, &made);
    j->depth++;
    if (!ok) return false;
    l->items = made.u.list->items;
    l->n = made.u.list->n;
    return true;
}

/* What a for loop walks over: elements, characters, keys. An iterator is empty afterwards (but not for huggingface.js). */
static bool hybrid__jinja_items(hybrid__jinja *j, hybrid__jvalue v, hybrid__jlist **items)
{
    hybrid__jvalue list, one;
    const char *p, *end;
    uint32_t code, i;
    switch (v.type) {
    case HYBRID__J_LIST:
        *items = v.u.list;
        if (v.u.list->kind != HYBRID__J_ITERATOR || j->js) return true;
        if (!hybrid__jinja_wake(j, v.u.list)) return false;
        if (!hybrid__jlist_view(&j->arena, v.u.list, 0, v.u.list->n, HYBRID__J_PLAIN, &list)) return hybrid__jinja_spent(j);
        v.u.list->n = 0;
        break;
    case HYBRID__J_STRING:
        if (!hybrid__jlist_new(&j->arena, hybrid__jstring_chars(&j->arena, v.u.s), HYBRID__J_PLAIN, &list)) return hybrid__jinja_spent(j);
        for (p = v.u.s->p, end = p + v.u.s->n; p < end; p += code) {
            code = (uint32_t)hybrid__utf8_next(p, end, &i);
            if (!hybrid__jstring_view(&j->arena, p, code, &one) || !hybrid__jlist_push(&j->arena, list.u.list, one)) return hybrid__jinja_spent(j);
        }
        break;
    case HYBRID__J_DICT:
        if (!hybrid__jlist_new(&j->arena, v.u.dict->n, HYBRID__J_PLAIN, &list)) return hybrid__jinja_spent(j);
        for (i = 0; i < v.u.dict->n; i++)
            if (!hybrid__jlist_push(&j->arena, list.u.list, v.u.dict->entries[i].key)) return hybrid__jinja_spent(j);
        break;
    case HYBRID__J_UNDEFINED:
        if (!hybrid__jlist_new(&j->arena, 0, HYBRID__J_PLAIN, &list)) return hybrid__jinja_spent(j);
        break;
    default: return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be iterated over", hybrid__jtype_name(v));
    }
    *items = list.u.list;
    return true;
}

static bool hybrid__jinja_new_list(hybrid__jinja *j, size_t capacity, hybrid__jlist_kind kind, hybrid__jvalue *out)
{
    return hybrid__jlist_new(&j->arena, capacity, kind, out) || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_push(hybrid__jinja *j, hybrid__jvalue list, hybrid__jvalue v)
{
    return hybrid__jlist_push(&j->arena, list.u.list, v) || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_view(hybrid__jinja *j, const char *p, size_t n, hybrid__jvalue *out)
{
    return hybrid__jstring_view(&j->arena, p, n, out) || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_text(hybrid__jinja *j, const hybrid__jbuffer *b, hybrid__jvalue *out)
{
    return hybrid__jstring_buffer(&j->arena, b, out) || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_pair(hybrid__jinja *j, hybrid__jvalue a, hybrid__jvalue b, hybrid__jvalue *out)
{
    return hybrid__jinja_new_list(j, 2, HYBRID__J_TUPLE, out) && hybrid__jinja_push(j, *out, a) && hybrid__jinja_push(j, *out, b);
}

/* An index from the end when negative; false: outside of 0..n-1. */
static bool hybrid__jindex(int64_t i, size_t n, size_t *index)
{
    if (i < 0) i += (int64_t)n;
    if (i < 0 || (uint64_t)i >= n) return false;
    *index = (size_t)i;
    return true;
}

/* Merge sort of items by keys: stable, at most n log n comparisons, also when the order makes no sense. */
static bool hybrid__jinja_sort(hybrid__jinja *j, hybrid__jvalue *items, hybrid__jvalue *keys, size_t n, bool reverse)
{
    hybrid__jvalue *spare, *from_items = items, *from_keys = keys, *to_items, *to_keys, *swap;
    size_t width, i, k;
    if (n < 2) return true;
    if (!(spare = (hybrid__jvalue *)hybrid__jarena_alloc(&j->arena, n * 2 * sizeof *spare))) return hybrid__jinja_spent(j);
    to_items = spare;
    to_keys = spare + n;
    for (width = 1; width < n; width *= 2) {
        for (i = 0; i < n; i += 2 * width) {
            size_t a = i, a_end = HYBRID__MIN(i + width, n), b = a_end, b_end = HYBRID__MIN(i + 2 * width, n);
            for (k = i; k < b_end; k++) {
                bool first = b >= b_end;
                if (a < a_end && !first) {
                    int order;
                    if (!hybrid__jinja_order(j, from_keys[a], from_keys[b], &order)) return false;
                    first = reverse ? order >= 0 : order <= 0;
                }
                to_items[k] = first ? from_items[a] : from_items[b];
                to_keys[k] = first ? from_keys[a++] : from_keys[b++];
            }
        }
        swap = from_items; from_items = to_items; to_items = swap;
        swap = from_keys; from_keys = to_keys; to_keys = swap;
    }
    if (from_items != items) { memcpy(items, from_items, n * sizeof *items); memcpy(keys, from_keys, n * sizeof *keys); }
    return true;
}

/* The keys of a dict in order, for tojson(sort_keys=true). */
static bool hybrid__jinja_sort_keys(hybrid__jinja *j, const hybrid__jdict *d, hybrid__jlist **keys)
{
    hybrid__jvalue list;
    hybrid__jvalue *order = (hybrid__jvalue *)hybrid__jarena_alloc(&j->arena, d->n * sizeof *order);
    uint32_t i;
    if (!order) return hybrid__jinja_spent(j);
    if (!hybrid__jinja_new_list(j, d->n, HYBRID__J_PLAIN, &list)) return false;
    for (i = 0; i < d->n; i++) {
        order[i] = d->entries[i].key;
        if (!hybrid__jinja_push(j, list, order[i])) return false;
    }
    *keys = list.u.list;
    return hybrid__jinja_sort(j, list.u.list->items, order, d->n, false);
}
