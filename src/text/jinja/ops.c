/* text/jinja/ops: operators: arithmetic, membership, what follows a dot or stands in brackets. */
#ifndef HYB_TEXT_JINJA_OPS_C
#define HYB_TEXT_JINJA_OPS_C
#include "time.c"

typedef enum hyb_jop {
    HYB_J_ADD,
    HYB_J_SUB,
    HYB_J_MUL,
    HYB_J_DIV,
    HYB_J_FLOORDIV,
    HYB_J_MOD,
    HYB_J_POW,
    HYB_J_TILDE,
    HYB_J_EQ,
    HYB_J_NE,
    HYB_J_LT,
    HYB_J_LE,
    HYB_J_GT,
    HYB_J_GE,
    HYB_J_IN,
    HYB_J_NOT_IN
} hyb_jop;

static const char *const hyb_jop_names[] = { "+",  "-",  "*", "/",  "//", "%",  "**", "~",
                                             "==", "!=", "<", "<=", ">",  ">=", "in", "not in" };

static bool hyb_jinja_overflow(hyb_jinja *j)
{
    return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "an integer leaves the range of 64 bits");
}
static bool hyb_jinja_bad_operands(hyb_jinja *j, hyb_jop op, hyb_jvalue a, hyb_jvalue b)
{
    if (a.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, a);
    if (b.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, b);
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s and a %s cannot be combined by %s", hyb_jtype_name(a),
                          hyb_jtype_name(b), hyb_jop_names[op]);
}

/* a * b in 64 bits, false on overflow. */
static bool hyb_jmul(int64_t a, int64_t b, int64_t *out)
{
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b, limit;
    bool minus = (a < 0) != (b < 0);
    limit = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    if (x && y > limit / x) return false;
    x *= y;
    *out = minus ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

static bool hyb_jinja_integers(hyb_jinja *j, hyb_jop op, int64_t a, int64_t b, hyb_jvalue *out)
{
    int64_t v = 0, base;
    switch (op) {
    case HYB_J_ADD:
        if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) return hyb_jinja_overflow(j);
        v = a + b;
        break;
    case HYB_J_SUB:
        if (b < 0 ? a > INT64_MAX + b : a < INT64_MIN + b) return hyb_jinja_overflow(j);
        v = a - b;
        break;
    case HYB_J_MUL:
        if (!hyb_jmul(a, b, &v)) return hyb_jinja_overflow(j);
        break;
    case HYB_J_FLOORDIV:
    case HYB_J_MOD:
        if (!b) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "division by zero");
        if (b == -1) { /* the one quotient that overflows */
            if (op == HYB_J_FLOORDIV && a == INT64_MIN) return hyb_jinja_overflow(j);
            v = op == HYB_J_MOD ? 0 : -a;
            break;
        }
        v = op == HYB_J_MOD ? a % b : a / b;
        if (a % b && (a < 0) != (b < 0)) v += op == HYB_J_MOD ? b : -1;
        break;
    default: /* ** with b >= 0 */
        for (v = 1, base = a; b; b >>= 1) {
            if ((b & 1) && !hyb_jmul(v, base, &v)) return hyb_jinja_overflow(j);
            if (b > 1 && !hyb_jmul(base, base, &base)) return hyb_jinja_overflow(j);
        }
        break;
    }
    *out = hyb_jint(v);
    return true;
}

static bool hyb_jinja_reals(hyb_jinja *j, hyb_jop op, double a, double b, hyb_jvalue *out)
{
    double v = 0;
    if ((b == 0 && (op == HYB_J_DIV || op == HYB_J_FLOORDIV || op == HYB_J_MOD)) ||
        (op == HYB_J_POW && a == 0 && b < 0))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "division by zero");
    switch (op) {
    case HYB_J_ADD: v = a + b; break;
    case HYB_J_SUB: v = a - b; break;
    case HYB_J_MUL: v = a * b; break;
    case HYB_J_DIV: v = a / b; break;
    case HYB_J_MOD:
    case HYB_J_FLOORDIV: { /* as Python: the rest has the sign of b, zeros too */
        double rest = fmod(a, b);
        v = (a - rest) / b;
        if (rest == 0)
            rest = b < 0 ? -0.0 : 0.0;
        else if ((rest < 0) != (b < 0)) {
            rest += b;
            v -= 1;
        }
        v = v != 0 ? floor(v + 0.5) : signbit(a / b) ? -0.0 : 0.0;
        if (op == HYB_J_MOD) v = rest;
        break;
    }
    default:
        if (a < 0 && b != floor(b) && b - b == 0)
            return hyb_jinja_fail(j, HYBRID_ERROR_UNSUPPORTED,
                                  "a root of a negative number is complex: templates have no such numbers");
        v = pow(a, b);
        if (v - v != 0 && a - a == 0 && b - b == 0)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the power is too large for a float");
        break;
    }
    *out = hyb_jfloat(v);
    return true;
}

static bool hyb_jcan_repeat(hyb_jvalue v)
{
    return v.type == HYB_J_STRING || (v.type == HYB_J_LIST && v.u.list->kind <= HYB_J_TUPLE);
}
/* text * n, list * n */
static bool hyb_jinja_repeat(hyb_jinja *j, hyb_jvalue a, int64_t n, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    size_t total, i, one = a.type == HYB_J_STRING ? a.u.s->n : a.u.list->n;
    uint64_t times = n < 0 || !one ? 0 : (uint64_t)n;
    if (times > SIZE_MAX / 64 || !hyb_mul_size(one, (size_t)times, &total) || total > j->arena.max_bytes ||
        !hyb_jarena_work(&j->arena, times)) {
        if (!j->arena.result) j->arena.result = HYBRID_ERROR_LIMIT;
        return hyb_jinja_spent(j);
    }
    if (a.type == HYB_J_STRING) {
        for (; times; times--)
            if (!hyb_jinja_put(j, &b, a.u.s->p, a.u.s->n)) return false;
        if (!hyb_jinja_text(j, &b, out)) return false;
        out->mark = a.mark;
        return true;
    }
    if (!hyb_jinja_new_list(j, total, a.u.list->kind, out)) return false;
    for (; times; times--)
        for (i = 0; i < one; i++)
            if (!hyb_jinja_push(j, *out, a.u.list->items[i])) return false;
    return true;
}

static bool hyb_jinja_join_lists(hyb_jinja *j, const hyb_jlist *a, const hyb_jlist *b, hyb_jvalue *out)
{
    size_t i;
    if (!hyb_jinja_new_list(j, a->n + b->n, a->kind, out)) return false;
    for (i = 0; i < a->n; i++)
        if (!hyb_jinja_push(j, *out, a->items[i])) return false;
    for (i = 0; i < b->n; i++)
        if (!hyb_jinja_push(j, *out, b->items[i])) return false;
    return true;
}

/* a + b of texts, one of which is safe: the other one is escaped, and so is the sum. */
static bool hyb_jinja_add_safe(hyb_jinja *j, hyb_jvalue a, hyb_jvalue b, hyb_jvalue *out)
{
    hyb_jvalue x, y;
    if (!hyb_jinja_escape(j, a, false, &x) || !hyb_jinja_escape(j, b, false, &y) ||
        !hyb_jinja_check(j, hyb_jstring_concat(&j->arena, x.u.s, y.u.s->p, y.u.s->n, out)))
        return false;
    out->mark = 1;
    return true;
}

/* a ~ b, and + where one side is a string: both as text, one after the other. */
static bool hyb_jinja_tilde(hyb_jinja *j, hyb_jvalue a, hyb_jvalue b, hyb_jvalue *out)
{
    hyb_jvalue x, y;
    return hyb_jinja_to_string(j, a, &x) && hyb_jinja_to_string(j, b, &y) &&
           hyb_jinja_check(j, hyb_jstring_concat(&j->arena, x.u.s, y.u.s->p, y.u.s->n, out));
}

static bool hyb_jinja_binary(hyb_jinja *j, hyb_jop op, hyb_jvalue a, hyb_jvalue b, hyb_jvalue *out)
{
    if (op == HYB_J_TILDE) return hyb_jinja_tilde(j, a, b, out);
    if (hyb_jis_number(a) && hyb_jis_number(b)) {
        if (hyb_jis_whole(a) && hyb_jis_whole(b) && op != HYB_J_DIV && !(op == HYB_J_POW && hyb_jwhole(b) < 0))
            return hyb_jinja_integers(j, op, hyb_jwhole(a), hyb_jwhole(b), out);
        return hyb_jinja_reals(j, op, hyb_jreal(a), hyb_jreal(b), out);
    }
    if ((a.type == HYB_J_BIG || b.type == HYB_J_BIG) && (hyb_jis_number(a) || a.type == HYB_J_BIG) &&
        (hyb_jis_number(b) || b.type == HYB_J_BIG))
        return a.type == HYB_J_FLOAT || b.type == HYB_J_FLOAT
                   ? hyb_jinja_reals(j, op, hyb_jbig_real(a), hyb_jbig_real(b), out)
                   : hyb_jinja_overflow(j);
    if (op == HYB_J_ADD && a.type == HYB_J_STRING && b.type == HYB_J_STRING && (a.mark || b.mark))
        return hyb_jinja_add_safe(j, a, b, out);
    if (op == HYB_J_ADD && a.type == HYB_J_STRING && b.type == HYB_J_STRING) return hyb_jinja_tilde(j, a, b, out);
    if (op == HYB_J_ADD && a.type == HYB_J_LIST && b.type == HYB_J_LIST &&
        ((a.u.list->kind == b.u.list->kind && a.u.list->kind <= HYB_J_TUPLE) || j->js))
        return hyb_jinja_join_lists(j, a.u.list, b.u.list, out);
    if (op == HYB_J_ADD && j->js && (a.type == HYB_J_STRING || b.type == HYB_J_STRING) && a.type > HYB_J_NONE &&
        b.type > HYB_J_NONE)
        return hyb_jinja_tilde(j, a, b, out);
    if (op == HYB_J_MUL && hyb_jcan_repeat(a) && hyb_jis_whole(b)) return hyb_jinja_repeat(j, a, hyb_jwhole(b), out);
    if (op == HYB_J_MUL && hyb_jcan_repeat(b) && hyb_jis_whole(a)) return hyb_jinja_repeat(j, b, hyb_jwhole(a), out);
    if (op == HYB_J_MOD && a.type == HYB_J_STRING) return hyb_jinja_percent(j, a.u.s, a.mark != 0, b, out);
    return hyb_jinja_bad_operands(j, op, a, b);
}

/* a in b. huggingface.js tells true from 1 here, Python does not. */
static bool hyb_jinja_in(hyb_jinja *j, hyb_jvalue a, hyb_jvalue b, bool *in)
{
    hyb_jlist *items;
    size_t i;
    int same;
    *in = false;
    if (b.type == HYB_J_STRING) {
        if (a.type != HYB_J_STRING)
            return j->js || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "'in <string>' needs a string on its left, not a %s",
                                           hyb_jtype_name(a));
        *in = hyb_jfind(b.u.s->p, b.u.s->n, a.u.s->p, a.u.s->n, 0) != SIZE_MAX;
        return hyb_jarena_work(&j->arena, b.u.s->n / 16) || hyb_jinja_spent(j);
    }
    if (b.type == HYB_J_DICT) {
        uint32_t hash;
        if (!hyb_jhash(&j->arena, a, HYB_J_KEY_DEPTH, &hash)) return hyb_jinja_spent(j);
        *in = hyb_jdict_find(&j->arena, b.u.dict, a) != NULL;
        return !j->arena.result || hyb_jinja_spent(j);
    }
    if (b.type == HYB_J_NONE && j->js) return true;
    if (b.type == HYB_J_LIST && b.u.list->kind == HYB_J_VIEW && !strcmp(b.u.list->label, "dict_keys") &&
        !hyb_jinja_key(j, a))
        return false;
    if (!hyb_jinja_items(j, b, &items)) return false;
    for (i = 0; i < items->n && !*in; i++) {
        if (j->js && (a.type == HYB_J_BOOL) != (items->items[i].type == HYB_J_BOOL)) continue;
        if ((same = hyb_jequal(&j->arena, a, items->items[i], j->depth)) < 0) return hyb_jinja_spent(j);
        *in = same != 0;
    }
    return true;
}

static bool hyb_jinja_compare(hyb_jinja *j, hyb_jop op, hyb_jvalue a, hyb_jvalue b, bool *out)
{
    int order;
    if (op == HYB_J_EQ || op == HYB_J_NE) {
        int same = hyb_jequal(&j->arena, a, b, j->depth);
        if (same < 0) return hyb_jinja_spent(j);
        *out = (same != 0) == (op == HYB_J_EQ);
        return true;
    }
    if (op == HYB_J_IN || op == HYB_J_NOT_IN) {
        if (!hyb_jinja_in(j, a, b, out)) return false;
        *out = *out == (op == HYB_J_IN);
        return true;
    }
    if ((a.type <= HYB_J_NONE || b.type <= HYB_J_NONE || a.type >= HYB_J_DICT || b.type >= HYB_J_DICT))
        return hyb_jinja_bad_operands(j, op, a, b);
    if (!hyb_jinja_order(j, a, b, &order)) return false;
    *out = op == HYB_J_LT ? order < 0 : op == HYB_J_LE ? order <= 0 : op == HYB_J_GT ? order > 0 : order >= 0;
    if (a.type == HYB_J_FLOAT || b.type == HYB_J_FLOAT)
        if (hyb_jreal(a) != hyb_jreal(a) || hyb_jreal(b) != hyb_jreal(b)) *out = false; /* NaN */
    return true;
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

struct hyb_jfunction {
    const hyb_jbuiltin *builtin; /* or a macro: */
    hyb_jvalue self;             /* of a method */
    const hyb_jnode *node;
    hyb_jscope *scope; /* where the macro was defined */
};

struct hyb_jloop {
    const hyb_jlist *items;
    size_t i;
    int nesting;           /* of recursive loops, 0.. */
    const hyb_jnode *node; /* to be called again: a recursive loop */
    hyb_jscope *scope;
    hyb_jvalue last; /* what loop.changed saw */
};

static bool hyb_jinja_method(hyb_jinja *j, hyb_jvalue self, const hyb_jbuiltin *f, hyb_jvalue *out)
{
    hyb_jfunction *fn = (hyb_jfunction *)hyb_jarena_alloc(&j->arena, sizeof *fn);
    if (!fn) return hyb_jinja_spent(j);
    memset(fn, 0, sizeof *fn);
    fn->builtin = f;
    fn->self = self;
    *out = hyb_jnone();
    out->type = HYB_J_FUNCTION;
    out->u.function = fn;
    return true;
}

static bool hyb_jl_cycle(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (!c->args->n) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "loop.cycle needs at least one value");
    *out = c->args->v[c->self.u.loop->i % c->args->n];
    return true;
}
static bool hyb_jl_changed(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue now = hyb_jnone();
    size_t i;
    int same = 0;
    if (!hyb_jinja_new_list(j, c->args->n, HYB_J_TUPLE, &now)) return false;
    for (i = 0; i < c->args->n; i++)
        if (!hyb_jinja_push(j, now, c->args->v[i])) return false;
    if (c->self.u.loop->last.type != HYB_J_MISSING &&
        (same = hyb_jequal(&j->arena, now, c->self.u.loop->last, j->depth)) < 0)
        return hyb_jinja_spent(j);
    c->self.u.loop->last = now;
    *out = hyb_jbool(!same);
    return true;
}
static const hyb_jbuiltin hyb_jloop_methods[] = { { "cycle", "*", 0, hyb_jl_cycle },
                                                  { "changed", "*", 0, hyb_jl_changed } };

static bool hyb_jinja_loop_attribute(hyb_jinja *j, hyb_jvalue v, hyb_jstring *name, hyb_jvalue *out)
{
    static const char names[] = "index index0 revindex revindex0 first last length previtem nextitem depth depth0";
    const hyb_jloop *l = v.u.loop;
    int64_t i = (int64_t)l->i, n = (int64_t)l->items->n;
    const hyb_jbuiltin *f = hyb_jbuiltin_find(hyb_jloop_methods, HYB_COUNT(hyb_jloop_methods), name->p, name->n);
    if (f) return hyb_jinja_method(j, v, f, out);
    switch (hyb_jword(names, name->p, name->n)) {
    case 0: *out = hyb_jint(i + 1); break;
    case 1: *out = hyb_jint(i); break;
    case 2: *out = hyb_jint(n - i); break;
    case 3: *out = hyb_jint(n - i - 1); break;
    case 4: *out = hyb_jbool(i == 0); break;
    case 5: *out = hyb_jbool(i == n - 1); break;
    case 6: *out = hyb_jint(n); break;
    case 7: *out = i > 0 ? l->items->items[i - 1] : hyb_jundefined(name, true); break;
    case 8: *out = i < n - 1 ? l->items->items[i + 1] : hyb_jundefined(name, true); break;
    case 9: *out = hyb_jint(l->nesting + 1); break;
    case 10: *out = hyb_jint(l->nesting); break;
    default: *out = hyb_jundefined(name, true); break;
    }
    return true;
}

/* v.name: methods before members, as in Python (huggingface.js: members first). What is not there is undefined, not
 * an error. */
static bool hyb_jinja_attribute(hyb_jinja *j, hyb_jvalue v, hyb_jstring *name, hyb_jvalue *out)
{
    hyb_jvalue key = hyb_jnone();
    const hyb_jbuiltin *f;
    const hyb_jentry *e = NULL;
    int group;
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    if (v.type == HYB_J_LOOP) return hyb_jinja_loop_attribute(j, v, name, out);
    key.type = HYB_J_STRING;
    key.u.s = name;
    if (v.type == HYB_J_DICT || v.type == HYB_J_NAMESPACE) e = hyb_jdict_find(&j->arena, v.u.dict, key);
    if (j->arena.result) return hyb_jinja_spent(j);
    if (e && j->js) {
        *out = e->value;
        return true;
    }
    if ((f = hyb_jmethod(v, name)) != NULL) return hyb_jinja_method(j, v, f, out);
    if (e) {
        *out = e->value;
        return true;
    }
    if (v.type == HYB_J_LIST && v.u.list->n == 2 && v.u.list->kind == HYB_J_TUPLE &&
        (group = hyb_jword("grouper list", name->p, name->n)) >= 0) {
        *out = v.u.list->items[group]; /* the pairs of groupby */
        return true;
    }
    if (v.type == HYB_J_LIST && v.u.list->kind == HYB_J_RANGE &&
        (group = hyb_jword("start stop step", name->p, name->n)) >= 0) {
        *out = hyb_jint(group == 0 ? v.u.list->span->start : group == 1 ? v.u.list->span->stop : v.u.list->span->step);
        return true;
    }
    *out = hyb_jundefined(name, true);
    return true;
}

/* v[key] */
static bool hyb_jinja_item(hyb_jinja *j, hyb_jvalue v, hyb_jvalue key, hyb_jvalue *out)
{
    const hyb_jentry *e;
    size_t i;
    *out = hyb_jundefined(key.type == HYB_J_STRING ? key.u.s : NULL, true);
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    if (v.type == HYB_J_DICT || v.type == HYB_J_NAMESPACE) {
        if ((e = hyb_jdict_find(&j->arena, v.u.dict, key)) != NULL) {
            *out = e->value;
            return true;
        }
        if (j->arena.result) return hyb_jinja_spent(j);
    } else if (v.type == HYB_J_LIST && hyb_jis_whole(key)) {
        if ((v.u.list->kind <= HYB_J_RANGE || j->js) && hyb_jindex(hyb_jwhole(key), v.u.list->n, &i))
            *out = v.u.list->items[i];
        return true;
    } else if (v.type == HYB_J_STRING && hyb_jis_whole(key)) {
        size_t at;
        uint32_t code;
        if (!hyb_jindex(hyb_jwhole(key), hyb_jstring_chars(&j->arena, v.u.s), &i)) return true;
        at = hyb_jstring_at(&j->arena, v.u.s, i);
        if (!hyb_jinja_view(j, v.u.s->p + at, hyb_utf8_next(v.u.s->p + at, v.u.s->p + v.u.s->n, &code), out))
            return false;
        out->mark = v.mark;
        return true;
    }
    if (key.type == HYB_J_STRING) return hyb_jinja_attribute(j, v, key.u.s, out);
    return true;
}

/* range(start, stop, step) */
static bool hyb_jinja_range(hyb_jinja *j, int64_t start, int64_t stop, int64_t step, hyb_jvalue *out)
{
    enum { MOST = 100000 }; /* as in jinja2's sandbox */
    uint64_t count = 0, i;
    if (step > 0 ? start < stop : start > stop) {
        uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop,
                 by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        count = (span - 1) / by + 1;
    }
    if (count > MOST) return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "range: more than %d numbers", (int)MOST);
    if (!hyb_jinja_new_list(j, (size_t)count, j->js ? HYB_J_PLAIN : HYB_J_RANGE, out)) return false;
    if (!(out->u.list->span = (hyb_jspan *)hyb_jarena_alloc(&j->arena, sizeof(hyb_jspan)))) return hyb_jinja_spent(j);
    out->u.list->span->start = start;
    out->u.list->span->stop = stop;
    out->u.list->span->step = step;
    for (i = 0; i < count; i++)
        if (!hyb_jinja_push(j, *out, hyb_jint((int64_t)((uint64_t)start + i * (uint64_t)step)))) return false;
    return true;
}
/* range(...)[from:to:by], the ends within it */
static bool hyb_jinja_range_slice(hyb_jinja *j, const hyb_jspan *of, int64_t from, int64_t to, int64_t by,
                                  hyb_jvalue *out)
{
    int64_t a, b, c;
    if (!hyb_jmul(from, of->step, &a) || !hyb_jmul(to, of->step, &b) || !hyb_jmul(by, of->step, &c))
        return hyb_jinja_overflow(j);
    if (a > 0 ? of->start > INT64_MAX - a : of->start < INT64_MIN - a) return hyb_jinja_overflow(j);
    if (b > 0 ? of->start > INT64_MAX - b : of->start < INT64_MIN - b) return hyb_jinja_overflow(j);
    return hyb_jinja_range(j, of->start + a, of->start + b, c, out);
}

/* v.name or v[key] as format() reaches into its arguments */
static bool hyb_jinja_member(hyb_jinja *j, hyb_jvalue v, hyb_jvalue key, bool item, hyb_jvalue *out)
{
    return item ? hyb_jinja_item(j, v, key, out) : hyb_jinja_attribute(j, v, key.u.s, out);
}

/* v[start:stop:step], None where nothing is written. lax: what makes no sense is undefined, not an error (of constants,
 * which jinja2 computes while it compiles). */
static bool hyb_jinja_slice(hyb_jinja *j, hyb_jvalue v, hyb_jvalue start, hyb_jvalue stop, hyb_jvalue step, bool lax,
                            hyb_jvalue *out)
{
    bool text = v.type == HYB_J_STRING;
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jlist *items = NULL;
    int64_t n, from, to, by, i;
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    lax = lax || (j->js && v.type != HYB_J_NONE && !hyb_jis_number(v));
    if (!text && (v.type != HYB_J_LIST || (v.u.list->kind > HYB_J_RANGE && !j->js))) {
        *out = hyb_jundefined(NULL, true);
        return lax || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be sliced", hyb_jtype_name(v));
    }
    if ((start.type != HYB_J_NONE && !hyb_jis_whole(start)) || (stop.type != HYB_J_NONE && !hyb_jis_whole(stop)) ||
        (step.type != HYB_J_NONE && !hyb_jis_whole(step))) {
        *out = hyb_jundefined(NULL, true);
        return lax || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the bounds of a slice must be integers or None");
    }
    by = step.type == HYB_J_NONE ? 1 : hyb_jwhole(step);
    if (!by) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the step of a slice is zero");
    n = (int64_t)(text ? hyb_jstring_chars(&j->arena, v.u.s) : v.u.list->n);
    from = start.type == HYB_J_NONE ? (by < 0 ? INT64_MAX : 0) : hyb_jwhole(start);
    to = stop.type == HYB_J_NONE ? (by < 0 ? INT64_MIN : INT64_MAX) : hyb_jwhole(stop);
    if (from < 0) from = from < -n ? (by < 0 ? -1 : 0) : from + n;
    if (from > n - (by < 0)) from = n - (by < 0);
    if (to < 0) to = to < -n ? (by < 0 ? -1 : 0) : to + n;
    if (to > n - (by < 0)) to = n - (by < 0);
    if (!text && v.u.list->kind == HYB_J_RANGE && !j->js)
        return hyb_jinja_range_slice(j, v.u.list->span, from, to, by, out);
    if (by == 1) {
        if (to < from) to = from;
        if (!text)
            return hyb_jlist_view(&j->arena, v.u.list, (size_t)from, (size_t)(to - from),
                                  v.u.list->kind == HYB_J_TUPLE ? HYB_J_TUPLE : HYB_J_PLAIN, out) ||
                   hyb_jinja_spent(j);
        n = (int64_t)hyb_jstring_at(&j->arena, v.u.s, (size_t)from);
        if (!hyb_jinja_view(j, v.u.s->p + n, hyb_jstring_at(&j->arena, v.u.s, (size_t)to) - (size_t)n, out))
            return false;
        out->u.s->chars = (size_t)(to - from);
        out->mark = v.mark;
        return true;
    }
    if (text ? !hyb_jinja_items(j, v, &items)
             : !hyb_jinja_new_list(j, 0, v.u.list->kind == HYB_J_TUPLE ? HYB_J_TUPLE : HYB_J_PLAIN, out))
        return false;
    for (i = from; by > 0 ? i < to : i > to;) {
        if (!text && !hyb_jinja_push(j, *out, v.u.list->items[i])) return false;
        if (text && !hyb_jinja_put(j, &b, items->items[i].u.s->p, items->items[i].u.s->n)) return false;
        if (by > 0 ? by > to - i : by < to - i) break; /* the next one would be past the end, or overflow */
        i += by;
    }
    if (!text) return true;
    if (!hyb_jinja_text(j, &b, out)) return false;
    out->mark = v.mark;
    return true;
}
#endif
