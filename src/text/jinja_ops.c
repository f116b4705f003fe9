/* text/jinja_ops: operators: arithmetic, membership, what stands behind dots and in brackets. */

typedef enum hybrid__jop {
    HYBRID__J_ADD, HYBRID__J_SUB, HYBRID__J_MUL, HYBRID__J_DIV, HYBRID__J_FLOORDIV, HYBRID__J_MOD, HYBRID__J_POW, HYBRID__J_TILDE,
    HYBRID__J_EQ, HYBRID__J_NE, HYBRID__J_LT, HYBRID__J_LE, HYBRID__J_GT, HYBRID__J_GE, HYBRID__J_IN, HYBRID__J_NOT_IN
} hybrid__jop;

static const char *const hybrid__jop_names[] = { "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in" };

static bool hybrid__jinja_overflow(hybrid__jinja *j)
{
    return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "an integer leaves the range of 64 bits");
}
static bool hybrid__jinja_bad_operands(hybrid__jinja *j, hybrid__jop op, hybrid__jvalue a, hybrid__jvalue b)
{
    if (a.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, a);
    if (b.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, b);
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s and a %s cannot be combined by %s", hybrid__jtype_name(a), hybrid__jtype_name(b), hybrid__jop_names[op]);
}

/* a * b in 64 bits, false on overflow. */
static bool hybrid__jmul(int64_t a, int64_t b, int64_t *out)
{
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b, limit;
    bool minus = (a < 0) != (b < 0);
    limit = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    if (x && y > limit / x) return false;
    x *= y;
    *out = minus ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

static bool hybrid__jinja_integers(hybrid__jinja *j, hybrid__jop op, int64_t a, int64_t b, hybrid__jvalue *out)
{
    int64_t v = 0, base;
    switch (op) {
    case HYBRID__J_ADD:
        if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) return hybrid__jinja_overflow(j);
        v = a + b;
        break;
    case HYBRID__J_SUB:
        if (b < 0 ? a > INT64_MAX + b : a < INT64_MIN + b) return hybrid__jinja_overflow(j);
        v = a - b;
        break;
    case HYBRID__J_MUL:
        if (!hybrid__jmul(a, b, &v)) return hybrid__jinja_overflow(j);
        break;
    case HYBRID__J_FLOORDIV: case HYBRID__J_MOD:
        if (!b) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "division by zero");
        if (b == -1) {                                       /* the one quotient that overflows */
            if (op == HYBRID__J_FLOORDIV && a == INT64_MIN) return hybrid__jinja_overflow(j);
            v = op == HYBRID__J_MOD ? 0 : -a;
            break;
        }
        v = op == HYBRID__J_MOD ? a % b : a / b;
        if (a % b && (a < 0) != (b < 0)) v += op == HYBRID__J_MOD ? b : -1;
        break;
    default:                                                 /* ** with b >= 0 */
        for (v = 1, base = a; b; b >>= 1) {
            if ((b & 1) && !hybrid__jmul(v, base, &v)) return hybrid__jinja_overflow(j);
            if (b > 1 && !hybrid__jmul(base, base, &base)) return hybrid__jinja_overflow(j);
        }
        break;
    }
    *out = hybrid__jint(v);
    return true;
}

static bool hybrid__jinja_reals(hybrid__jinja *j, hybrid__jop op, double a, double b, hybrid__jvalue *out)
{
    double v = 0;
    if ((b == 0 && (op == HYBRID__J_DIV || op == HYBRID__J_FLOORDIV || op == HYBRID__J_MOD)) || (op == HYBRID__J_POW && a == 0 && b < 0))
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "division by zero");
    switch (op) {
    case HYBRID__J_ADD: v = a + b; break;
    case HYBRID__J_SUB: v = a - b; break;
    case HYBRID__J_MUL: v = a * b; break;
    case HYBRID__J_DIV: v = a / b; break;
    case HYBRID__J_MOD: case HYBRID__J_FLOORDIV: {           /* as Python: the rest has the sign of b, zeros too */
        double rest = fmod(a, b);
        v = (a - rest) / b;
        if (rest == 0) rest = b < 0 ? -0.0 : 0.0;
        else if ((rest < 0) != (b < 0)) { rest += b; v -= 1; }
        v = v != 0 ? floor(v + 0.5) : signbit(a / b) ? -0.0 : 0.0;
        if (op == HYBRID__J_MOD) v = rest;
        break;
    }
    default:
        if (a < 0 && b != floor(b) && b - b == 0) return hybrid__jinja_fail(j, HYBRID_ERROR_UNSUPPORTED, "a root of a negative number is complex: templates have no such numbers");
        v = pow(a, b);
        if (v - v != 0 && a - a == 0 && b - b == 0) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the power is too large for a float");
        break;
    }
    *out = hybrid__jfloat(v);
    return true;
}

static bool hybrid__jcan_repeat(hybrid__jvalue v)
{
    return v.type == HYBRID__J_STRING || (v.type == HYBRID__J_LIST && v.u.list->kind <= HYBRID__J_TUPLE);
}
/* text * n, list * n */
static bool hybrid__jinja_repeat(hybrid__jinja *j, hybrid__jvalue a, int64_t n, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    size_t total, i, one = a.type == HYBRID__J_STRING ? a.u.s->n : a.u.list->n;
    uint64_t times = n < 0 || !one ? 0 : (uint64_t)n;
    if (times > SIZE_MAX / 64 || !hybrid__mul_size(one, (size_t)times, &total) || total > j->arena.max_bytes || !hybrid__jarena_work(&j->arena, times)) {
        if (!j->arena.result) j->arena.result = HYBRID_ERROR_LIMIT;
        return hybrid__jinja_spent(j);
    }
    if (a.type == HYBRID__J_STRING) {
        for (; times; times--) if (!hybrid__jinja_put(j, &b, a.u.s->p, a.u.s->n)) return false;
        if (!hybrid__jinja_text(j, &b, out)) return false;
        out->mark = a.mark;
        return true;
    }
    if (!hybrid__jinja_new_list(j, total, a.u.list->kind, out)) return false;
    for (; times; times--) for (i = 0; i < one; i++) if (!hybrid__jinja_push(j, *out, a.u.list->items[i])) return false;
    return true;
}

static bool hybrid__jinja_join_lists(hybrid__jinja *j, const hybrid__jlist *a, const hybrid__jlist *b, hybrid__jvalue *out)
{
    size_t i;
    if (!hybrid__jinja_new_list(j, a->n + b->n, a->kind, out)) return false;
    for (i = 0; i < a->n; i++) if (!hybrid__jinja_push(j, *out, a->items[i])) return false;
    for (i = 0; i < b->n; i++) if (!hybrid__jinja_push(j, *out, b->items[i])) return false;
    return true;
}

/* a + b of texts, one of which is safe: the other one is escaped, and so is the sum. */
static bool hybrid__jinja_add_safe(hybrid__jinja *j, hybrid__jvalue a, hybrid__jvalue b, hybrid__jvalue *out)
{
    hybrid__jvalue x, y;
    if (!hybrid__jinja_escape(j, a, false, &x) || !hybrid__jinja_escape(j, b, false, &y)
        || !hybrid__jinja_check(j, hybrid__jstring_concat(&j->arena, x.u.s, y.u.s->p, y.u.s->n, out))) return false;
    out->mark = 1;
    return true;
}

/* a ~ b, and + where one side is a string: both as text, one after the other. */
static bool hybrid__jinja_tilde(hybrid__jinja *j, hybrid__jvalue a, hybrid__jvalue b, hybrid__jvalue *out)
{
    hybrid__jvalue x, y;
    return hybrid__jinja_to_string(j, a, &x) && hybrid__jinja_to_string(j, b, &y)
        && hybrid__jinja_check(j, hybrid__jstring_concat(&j->arena, x.u.s, y.u.s->p, y.u.s->n, out));
}

static bool hybrid__jinja_binary(hybrid__jinja *j, hybrid__jop op, hybrid__jvalue a, hybrid__jvalue b, hybrid__jvalue *out)
{
    if (op == HYBRID__J_TILDE) return hybrid__jinja_tilde(j, a, b, out);
    if (hybrid__jis_number(a) && hybrid__jis_number(b)) {
        if (hybrid__jis_whole(a) && hybrid__jis_whole(b) && op != HYBRID__J_DIV && !(op == HYBRID__J_POW && hybrid__jwhole(b) < 0))
            return hybrid__jinja_integers(j, op, hybrid__jwhole(a), hybrid__jwhole(b), out);
        return hybrid__jinja_reals(j, op, hybrid__jreal(a), hybrid__jreal(b), out);
    }
    if ((a.type == HYBRID__J_BIG || b.type == HYBRID__J_BIG) && (hybrid__jis_number(a) || a.type == HYBRID__J_BIG) && (hybrid__jis_number(b) || b.type == HYBRID__J_BIG))
        return a.type == HYBRID__J_FLOAT || b.type == HYBRID__J_FLOAT ? hybrid__jinja_reals(j, op, hybrid__jbig_real(a), hybrid__jbig_real(b), out)
            : hybrid__jinja_overflow(j);
    if (op == HYBRID__J_ADD && a.type == HYBRID__J_STRING && b.type == HYBRID__J_STRING && (a.mark || b.mark)) return hybrid__jinja_add_safe(j, a, b, out);
    if (op == HYBRID__J_ADD && a.type == HYBRID__J_STRING && b.type == HYBRID__J_STRING) return hybrid__jinja_tilde(j, a, b, out);
    if (op == HYBRID__J_ADD && a.type == HYBRID__J_LIST && b.type == HYBRID__J_LIST && ((a.u.list->kind == b.u.list->kind && a.u.list->kind <= HYBRID__J_TUPLE) || j->js))
        return hybrid__jinja_join_lists(j, a.u.list, b.u.list, out);
    if (op == HYBRID__J_ADD && j->js && (a.type == HYBRID__J_STRING || b.type == HYBRID__J_STRING) && a.type > HYBRID__J_NONE && b.type > HYBRID__J_NONE)
        return hybrid__jinja_tilde(j, a, b, out);
    if (op == HYBRID__J_MUL && hybrid__jcan_repeat(a) && hybrid__jis_whole(b)) return hybrid__jinja_repeat(j, a, hybrid__jwhole(b), out);
    if (op == HYBRID__J_MUL && hybrid__jcan_repeat(b) && hybrid__jis_whole(a)) return hybrid__jinja_repeat(j, b, hybrid__jwhole(a), out);
    if (op == HYBRID__J_MOD && a.type == HYBRID__J_STRING) return hybrid__jinja_percent(j, a.u.s, a.mark != 0, b, out);
    return hybrid__jinja_bad_operands(j, op, a, b);
}

/* a in b. huggingface.js tells true from 1 here, Python does not. */
static bool hybrid__jinja_in(hybrid__jinja *j, hybrid__jvalue a, hybrid__jvalue b, bool *in)
{
    hybrid__jlist *items;
    size_t i;
    int same;
    *in = false;
    if (b.type == HYBRID__J_STRING) {
        if (a.type != HYBRID__J_STRING) return j->js || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "'in <string>' needs a string on its left, not a %s", hybrid__jtype_name(a));
        *in = hybrid__jfind(b.u.s->p, b.u.s->n, a.u.s->p, a.u.s->n, 0) != SIZE_MAX;
        return hybrid__jarena_work(&j->arena, b.u.s->n / 16) || hybrid__jinja_spent(j);
    }
    if (b.type == HYBRID__J_DICT) {
        uint32_t hash;
        if (!hybrid__jhash(&j->arena, a, HYBRID__J_KEY_DEPTH, &hash)) return hybrid__jinja_spent(j);
        *in = hybrid__jdict_find(&j->arena, b.u.dict, a) != NULL;
        return !j->arena.result || hybrid__jinja_spent(j);
    }
    if (b.type == HYBRID__J_NONE && j->js) return true;
    if (b.type == HYBRID__J_LIST && b.u.list->kind == HYBRID__J_VIEW && !strcmp(b.u.list->label, "dict_keys") && !hybrid__jinja_key(j, a)) return false;
    if (!hybrid__jinja_items(j, b, &items)) return false;
    for (i = 0; i < items->n && !*in; i++) {
        if (j->js && (a.type == HYBRID__J_BOOL) != (items->items[i].type == HYBRID__J_BOOL)) continue;
        if ((same = hybrid__jequal(&j->arena, a, items->items[i], j->depth)) < 0) return hybrid__jinja_spent(j);
        *in = same != 0;
    }
    return true;
}

static bool hybrid__jinja_compare(hybrid__jinja *j, hybrid__jop op, hybrid__jvalue a, hybrid__jvalue b, bool *out)
{
    int order;
    if (op == HYBRID__J_EQ || op == HYBRID__J_NE) {
        int same = hybrid__jequal(&j->arena, a, b, j->depth);
        if (same < 0) return hybrid__jinja_spent(j);
        *out = (same != 0) == (op == HYBRID__J_EQ);
        return true;
    }
    if (op == HYBRID__J_IN || op == HYBRID__J_NOT_IN) {
        if (!hybrid__jinja_in(j, a, b, out)) return false;
        *out = *out == (op == HYBRID__J_IN);
        return true;
    }
    if ((a.type <= HYBRID__J_NONE || b.type <= HYBRID__J_NONE || a.type >= HYBRID__J_DICT || b.type >= HYBRID__J_DICT)) return hybrid__jinja_bad_operands(j, op, a, b);
    if (!hybrid__jinja_order(j, a, b, &order)) return false;
    *out = op == HYBRID__J_LT ? order < 0 : op == HYBRID__J_LE ? order <= 0 : op == HYBRID__J_GT ? order > 0 : order >= 0;
    if (a.type == HYBRID__J_FLOAT || b.type == HYBRID__J_FLOAT)
        if (hybrid__jreal(a) != hybrid__jreal(a) || hybrid__jreal(b) != hybrid__jreal(b)) *out = false;    /* NaN */
    return true;
}

/* ---- members ---- */

struct hybrid__jfunction {
    const hybrid__jbuiltin *builtin;     /* or a macro: */
    hybrid__jvalue          self;        /* of a method */
    const hybrid__jnode    *node;
    hybrid__jscope         *scope;       /* where the macro was defined */
};

struct hybrid__jloop {
    const hybrid__jlist *items;
    size_t               i;
    int                  nesting;        /* of recursive loops, 0.. */
    const hybrid__jnode *node;           /* to be called again: a recursive loop */
    hybrid__jscope      *scope;
    hybrid__jvalue       last;           /* what loop.changed saw */
};

static bool hybrid__jinja_method(hybrid__jinja *j, hybrid__jvalue self, const hybrid__jbuiltin *f, hybrid__jvalue *out)
{
    hybrid__jfunction *fn = (hybrid__jfunction *)hybrid__jarena_alloc(&j->arena, sizeof *fn);
    if (!fn) return hybrid__jinja_spent(j);
    memset(fn, 0, sizeof *fn);
    fn->builtin = f;
    fn->self = self;
    *out = hybrid__jnone();
    out->type = HYBRID__J_FUNCTION;
    out->u.function = fn;
    return true;
}

static bool hybrid__jl_cycle(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (!c->args->n) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "loop.cycle needs at least one value");
    *out = c->args->v[c->self.u.loop->i % c->args->n];
    return true;
}
static bool hybrid__jl_changed(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue now = hybrid__jnone();
    size_t i;
    int same = 0;
    if (!hybrid__jinja_new_list(j, c->args->n, HYBRID__J_TUPLE, &now)) return false;
    for (i = 0; i < c->args->n; i++) if (!hybrid__jinja_push(j, now, c->args->v[i])) return false;
    if (c->self.u.loop->last.type != HYBRID__J_MISSING && (same = hybrid__jequal(&j->arena, now, c->self.u.loop->last, j->depth)) < 0) return hybrid__jinja_spent(j);
    c->self.u.loop->last = now;
    *out = hybrid__jbool(!same);
    return true;
}
static const hybrid__jbuiltin hybrid__jloop_methods[] = { { "cycle", "*", 0, hybrid__jl_cycle }, { "changed", "*", 0, hybrid__jl_changed } };

static bool hybrid__jinja_loop_attribute(hybrid__jinja *j, hybrid__jvalue v, hybrid__jstring *name, hybrid__jvalue *out)
{
    static const char names[] = "index index0 revindex revindex0 first last length previtem nextitem depth depth0";
    const hybrid__jloop *l = v.u.loop;
    int64_t i = (int64_t)l->i, n = (int64_t)l->items->n;
    const hybrid__jbuiltin *f = hybrid__jbuiltin_find(hybrid__jloop_methods, HYBRID__COUNT(hybrid__jloop_methods), name->p, name->n);
    if (f) return hybrid__jinja_method(j, v, f, out);
    switch (hybrid__jword(names, name->p, name->n)) {
    case 0: *out = hybrid__jint(i + 1); break;
    case 1: *out = hybrid__jint(i); break;
    case 2: *out = hybrid__jint(n - i); break;
    case 3: *out = hybrid__jint(n - i - 1); break;
    case 4: *out = hybrid__jbool(i == 0); break;
    case 5: *out = hybrid__jbool(i == n - 1); break;
    case 6: *out = hybrid__jint(n); break;
    case 7: *out = i > 0 ? l->items->items[i - 1] : hybrid__jundefined(name, true); break;
    case 8: *out = i < n - 1 ? l->items->items[i + 1] : hybrid__jundefined(name, true); break;
    case 9: *out = hybrid__jint(l->nesting + 1); break;
    case 10: *out = hybrid__jint(l->nesting); break;
    default: *out = hybrid__jundefined(name, true); break;
    }
    return true;
}

/* v.name: methods before members, as in Python (huggingface.js: members first). What is not there is undefined, not an error. */
static bool hybrid__jinja_attribute(hybrid__jinja *j, hybrid__jvalue v, hybrid__jstring *name, hybrid__jvalue *out)
{
    hybrid__jvalue key = hybrid__jnone();
    const hybrid__jbuiltin *f;
    const hybrid__jentry *e = NULL;
    int group;
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    if (v.type == HYBRID__J_LOOP) return hybrid__jinja_loop_attribute(j, v, name, out);
    key.type = HYBRID__J_STRING;
    key.u.s = name;
    if (v.type == HYBRID__J_DICT || v.type == HYBRID__J_NAMESPACE) e = hybrid__jdict_find(&j->arena, v.u.dict, key);
    if (j->arena.result) return hybrid__jinja_spent(j);
    if (e && j->js) { *out = e->value; return true; }
    if ((f = hybrid__jmethod(v, name)) != NULL) return hybrid__jinja_method(j, v, f, out);
    if (e) { *out = e->value; return true; }
    if (v.type == HYBRID__J_LIST && v.u.list->n == 2 && v.u.list->kind == HYBRID__J_TUPLE && (group = hybrid__jword("grouper list", name->p, name->n)) >= 0) {
        *out = v.u.list->items[group];                       /* the pairs of groupby */
        return true;
    }
    if (v.type == HYBRID__J_LIST && v.u.list->kind == HYBRID__J_RANGE && (group = hybrid__jword("start stop step", name->p, name->n)) >= 0) {
        *out = hybrid__jint(group == 0 ? v.u.list->span->start : group == 1 ? v.u.list->span->stop : v.u.list->span->step);
        return true;
    }
    *out = hybrid__jundefined(name, true);
    return true;
}

/* v[key] */
static bool hybrid__jinja_item(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue key, hybrid__jvalue *out)
{
    const hybrid__jentry *e;
    size_t i;
    *out = hybrid__jundefined(key.type == HYBRID__J_STRING ? key.u.s : NULL, true);
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    if (v.type == HYBRID__J_DICT || v.type == HYBRID__J_NAMESPACE) {
        if ((e = hybrid__jdict_find(&j->arena, v.u.dict, key)) != NULL) { *out = e->value; return true; }
        if (j->arena.result) return hybrid__jinja_spent(j);
    } else if (v.type == HYBRID__J_LIST && hybrid__jis_whole(key)) {
        if ((v.u.list->kind <= HYBRID__J_RANGE || j->js) && hybrid__jindex(hybrid__jwhole(key), v.u.list->n, &i)) *out = v.u.list->items[i];
        return true;
    } else if (v.type == HYBRID__J_STRING && hybrid__jis_whole(key)) {
        size_t at;
        uint32_t code;
        if (!hybrid__jindex(hybrid__jwhole(key), hybrid__jstring_chars(&j->arena, v.u.s), &i)) return true;
        at = hybrid__jstring_at(&j->arena, v.u.s, i);
        if (!hybrid__jinja_view(j, v.u.s->p + at, hybrid__utf8_next(v.u.s->p + at, v.u.s->p + v.u.s->n, &code), out)) return false;
        out->mark = v.mark;
        return true;
    }
    if (key.type == HYBRID__J_STRING) return hybrid__jinja_attribute(j, v, key.u.s, out);
    return true;
}

/* range(start, stop, step) */
static bool hybrid__jinja_range(hybrid__jinja *j, int64_t start, int64_t stop, int64_t step, hybrid__jvalue *out)
{
    enum { MOST = 100000 };                                  /* as in jinja2's sandbox */
    uint64_t count = 0, i;
    if (step > 0 ? start < stop : start > stop) {
        uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop, by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        count = (span - 1) / by + 1;
    }
    if (count > MOST) return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "range: more than %d numbers", (int)MOST);
    if (!hybrid__jinja_new_list(j, (size_t)count, j->js ? HYBRID__J_PLAIN : HYBRID__J_RANGE, out)) return false;
    if (!(out->u.list->span = (hybrid__jspan *)hybrid__jarena_alloc(&j->arena, sizeof(hybrid__jspan)))) return hybrid__jinja_spent(j);
    out->u.list->span->start = start;
    out->u.list->span->stop = stop;
    out->u.list->span->step = step;
    for (i = 0; i < count; i++) if (!hybrid__jinja_push(j, *out, hybrid__jint((int64_t)((uint64_t)start + i * (uint64_t)step)))) return false;
    return true;
}
/* range(...)[from:to:by], the ends within it */
static bool hybrid__jinja_range_slice(hybrid__jinja *j, const hybrid__jspan *of, int64_t from, int64_t to, int64_t by, hybrid__jvalue *out)
{
    int64_t a, b, c;
    if (!hybrid__jmul(from, of->step, &a) || !hybrid__jmul(to, of->step, &b) || !hybrid__jmul(by, of->step, &c)) return hybrid__jinja_overflow(j);
    if (a > 0 ? of->start > INT64_MAX - a : of->start < INT64_MIN - a) return hybrid__jinja_overflow(j);
    if (b > 0 ? of->start > INT64_MAX - b : of->start < INT64_MIN - b) return hybrid__jinja_overflow(j);
    return hybrid__jinja_range(j, of->start + a, of->start + b, c, out);
}

/* v.name or v[key] as format() reaches into its arguments */
static bool hybrid__jinja_member(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue key, bool item, hybrid__jvalue *out)
{
    return item ? hybrid__jinja_item(j, v, key, out) : hybrid__jinja_attribute(j, v, key.u.s, out);
}

/* v[start:stop:step], None where nothing is written. lax: what makes no sense is undefined, not an error (of constants, which jinja2
 * computes while it compiles). */
static bool hybrid__jinja_slice(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue start, hybrid__jvalue stop, hybrid__jvalue step, bool lax, hybrid__jvalue *out)
{
    bool text = v.type == HYBRID__J_STRING;
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jlist *items = NULL;
    int64_t n, from, to, by, i;
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    lax = lax || (j->js && v.type != HYBRID__J_NONE && !hybrid__jis_number(v));
    if (!text && (v.type != HYBRID__J_LIST || (v.u.list->kind > HYBRID__J_RANGE && !j->js))) {
        *out = hybrid__jundefined(NULL, true);
        return lax || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be sliced", hybrid__jtype_name(v));
    }
    if ((start.type != HYBRID__J_NONE && !hybrid__jis_whole(start)) || (stop.type != HYBRID__J_NONE && !hybrid__jis_whole(stop))
        || (step.type != HYBRID__J_NONE && !hybrid__jis_whole(step))) {
        *out = hybrid__jundefined(NULL, true);
        return lax || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the bounds of a slice must be integers or None");
    }
    by = step.type == HYBRID__J_NONE ? 1 : hybrid__jwhole(step);
    if (!by) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the step of a slice is zero");
    n = (int64_t)(text ? hybrid__jstring_chars(&j->arena, v.u.s) : v.u.list->n);
    from = start.type == HYBRID__J_NONE ? (by < 0 ? INT64_MAX : 0) : hybrid__jwhole(start);
    to = stop.type == HYBRID__J_NONE ? (by < 0 ? INT64_MIN : INT64_MAX) : hybrid__jwhole(stop);
    if (from < 0) from = from < -n ? (by < 0 ? -1 : 0) : from + n;
    if (from > n - (by < 0)) from = n - (by < 0);
    if (to < 0) to = to < -n ? (by < 0 ? -1 : 0) : to + n;
    if (to > n - (by < 0)) to = n - (by < 0);
    if (!text && v.u.list->kind == HYBRID__J_RANGE && !j->js) return hybrid__jinja_range_slice(j, v.u.list->span, from, to, by, out);
    if (by == 1) {
        if (to < from) to = from;
        if (!text) return hybrid__jlist_view(&j->arena, v.u.list, (size_t)from, (size_t)(to - from), v.u.list->kind == HYBRID__J_TUPLE ? HYBRID__J_TUPLE : HYBRID__J_PLAIN, out) || hybrid__jinja_spent(j);
        n = (int64_t)hybrid__jstring_at(&j->arena, v.u.s, (size_t)from);
        if (!hybrid__jinja_view(j, v.u.s->p + n, hybrid__jstring_at(&j->arena, v.u.s, (size_t)to) - (size_t)n, out)) return false;
        out->u.s->chars = (size_t)(to - from);
        out->mark = v.mark;
        return true;
    }
    if (text ? !hybrid__jinja_items(j, v, &items) : !hybrid__jinja_new_list(j, 0, v.u.list->kind == HYBRID__J_TUPLE ? HYBRID__J_TUPLE : HYBRID__J_PLAIN, out)) return false;
    for (i = from; by > 0 ? i < to : i > to; ) {
        if (!text && !hybrid__jinja_push(j, *out, v.u.list->items[i])) return false;
        if (text && !hybrid__jinja_put(j, &b, items->items[i].u.s->p, items->items[i].u.s->n)) return false;
        if (by > 0 ? by > to - i : by < to - i) break;       /* the next one would be past the end, or overflow */
        i += by;
    }
    if (!text) return true;
    if (!hybrid__jinja_text(j, &b, out)) return false;
    out->mark = v.mark;
    return true;
}
