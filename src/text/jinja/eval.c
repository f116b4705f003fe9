/* text/jinja/eval: runs a tree: expressions to values, statements to output. Every recursion is counted (max_depth),
 * every node costs a step (max_steps). */
#ifndef HYB_TEXT_JINJA_EVAL_C
#define HYB_TEXT_JINJA_EVAL_C
#include "test.c"
#include "statement.c"

/* Names that were set here; below them those of the block around. A macro keeps the scope it was defined in. */
typedef struct hyb_jbinding {
    const hyb_jstring *name;
    hyb_jvalue value;
} hyb_jbinding;
struct hyb_jscope {
    hyb_jscope *parent;
    hyb_jbinding *vars;
    size_t n, capacity;
    bool kept; /* by a macro: a loop must not use it for its next turn */
};

typedef enum hyb_jflow { HYB_J_NEXT, HYB_J_BROKEN, HYB_J_CONTINUED, HYB_J_FAILED } hyb_jflow;

static bool hyb_jinja_eval(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out);
static hyb_jflow hyb_jinja_run(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n);

static void hyb_jscope_open(hyb_jscope *s, hyb_jscope *parent)
{
    memset(s, 0, sizeof *s);
    s->parent = parent;
}
/* One that a macro may keep. */
static hyb_jscope *hyb_jscope_new(hyb_jinja *j, hyb_jscope *parent)
{
    hyb_jscope *s = (hyb_jscope *)hyb_jarena_alloc(&j->arena, sizeof *s);
    if (s)
        hyb_jscope_open(s, parent);
    else
        hyb_jinja_spent(j);
    return s;
}
static bool hyb_jscope_set(hyb_jinja *j, hyb_jscope *s, const hyb_jstring *name, hyb_jvalue value)
{
    size_t i;
    if (!hyb_jarena_work(&j->arena, 1 + s->n / 8)) return hyb_jinja_spent(j);
    for (i = 0; i < s->n; i++)
        if (s->vars[i].name == name) {
            s->vars[i].value = value;
            return true;
        }
    if (s->n == s->capacity) {
        const size_t capacity = s->capacity ? s->capacity * 2 : 4;
        if (!hyb_jarena_grow(&j->arena, &s->vars, s->n, capacity, sizeof *s->vars)) return hyb_jinja_spent(j);
        s->capacity = capacity;
    }
    s->vars[s->n].name = name;
    s->vars[s->n++].value = value;
    return true;
}

/* From the inside out, then what the caller gave, then what every template has. */
static bool hyb_jinja_lookup(hyb_jinja *j, const hyb_jscope *s, hyb_jstring *name, hyb_jvalue *out)
{
    hyb_jvalue key = hyb_jnone();
    const hyb_jbuiltin *f;
    const hyb_jentry *e;
    size_t i;
    for (; s; s = s->parent) {
        if (!hyb_jarena_work(&j->arena, 1 + s->n / 8)) return hyb_jinja_spent(j);
        for (i = 0; i < s->n; i++)
            if (s->vars[i].name == name) {
                *out = s->vars[i].value;
                return true;
            }
    }
    key.type = HYB_J_STRING;
    key.u.s = name;
    if ((e = hyb_jdict_find(&j->arena, j->context, key)) != NULL) {
        *out = e->value;
        return true;
    }
    if (j->arena.result) return hyb_jinja_spent(j);
    if ((f = hyb_jbuiltin_find(hyb_jglobals, HYB_COUNT(hyb_jglobals), name->p, name->n)) != NULL)
        return hyb_jinja_method(j, hyb_jnone(), f, out);
    *out = hyb_jundefined(name, false);
    return true;
}

/* ---- capturing output -------------------------------------------------------------------------------------------- */

static void hyb_jinja_capture(hyb_jinja *j, hyb_jbuffer *b, hyb_jbuffer **outer)
{
    b->data = NULL;
    b->size = b->capacity = 0;
    *outer = j->out;
    j->out = b;
}
static bool hyb_jinja_captured(hyb_jinja *j, hyb_jbuffer *outer, bool ok, hyb_jvalue *out)
{
    hyb_jbuffer *b = j->out;
    j->out = outer;
    return ok && hyb_jinja_text(j, b, out);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* All arguments of a call, stars unfolded. */
static bool hyb_jinja_args(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *list, hyb_jargs *args)
{
    hyb_jvalue plain, named, v;
    hyb_jlist *items;
    const hyb_jnode *n;
    size_t i, count = 0;
    memset(args, 0, sizeof *args);
    if (!list) return true;
    for (n = list; n; n = n->next) count++;
    if (!hyb_jinja_new_list(j, count, HYB_J_PLAIN, &plain) || !hyb_jinja_check(j, hyb_jdict_new(&j->arena, &named)))
        return false;
    for (n = list; n; n = n->next) {
        if (!hyb_jinja_eval(j, s, n->a, &v)) return false;
        j->at = n->at;
        if (n->kind == HYB_J_POSITIONAL) {
            if (!hyb_jinja_push(j, plain, v)) return false;
        } else if (n->kind == HYB_J_STAR) {
            if (!hyb_jinja_items(j, v, &items)) return false;
            for (i = 0; i < items->n; i++)
                if (!hyb_jinja_push(j, plain, items->items[i])) return false;
        } else if (n->kind == HYB_J_KEYWORD) {
            hyb_jvalue key = hyb_jnone();
            key.type = HYB_J_STRING;
            key.u.s = n->name;
            if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, named.u.dict, key, v))) return false;
        } else {
            if (v.type != HYB_J_DICT)
                return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "** needs a dict, not a %s", hyb_jtype_name(v));
            for (i = 0; i < v.u.dict->n; i++) {
                if (v.u.dict->entries[i].key.type != HYB_J_STRING)
                    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "** needs a dict with strings as keys");
                if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, named.u.dict, v.u.dict->entries[i].key,
                                                      v.u.dict->entries[i].value)))
                    return false;
            }
        }
    }
    args->v = plain.u.list->items;
    args->n = plain.u.list->n;
    if ((args->n_named = named.u.dict->n) == 0) return true;
    args->names = (hyb_jstring **)hyb_jarena_alloc(&j->arena, args->n_named * sizeof *args->names);
    args->named = (hyb_jvalue *)hyb_jarena_alloc(&j->arena, args->n_named * sizeof *args->named);
    if (!args->names || !args->named) return hyb_jinja_spent(j);
    for (i = 0; i < args->n_named; i++) {
        args->names[i] = named.u.dict->entries[i].key.u.s;
        args->named[i] = named.u.dict->entries[i].value;
    }
    return true;
}

/* The parameter of a macro by the bytes of its name, or NULL. */
static const hyb_jnode *hyb_jinja_parameter(const hyb_jnode *macro, const hyb_jstring *name)
{
    const hyb_jnode *p = macro->b;
    while (p && (p->name->n != name->n || memcmp(p->name->p, name->p, name->n))) p = p->next;
    return p;
}

/* Puts the arguments into the macro's scope. What has no parameter goes to varargs and kwargs, if the template
 * speaks of them. */
static bool hyb_jinja_bind(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *macro, const hyb_jargs *args,
                           hyb_jvalue caller)
{
    hyb_jvalue rest, more, v, key = hyb_jnone();
    const hyb_jnode *p;
    size_t i, at = 0;
    if (j->tree->caller && !hyb_jscope_set(j, s, j->tree->caller, caller)) return false;
    if (!hyb_jinja_new_list(j, 0, HYB_J_TUPLE, &rest) || !hyb_jinja_check(j, hyb_jdict_new(&j->arena, &more)))
        return false;
    for (p = macro->b; p; p = p->next, at++) {
        bool given = at < args->n;
        if (!hyb_jarena_work(&j->arena, 1 + args->n_named)) return hyb_jinja_spent(j);
        v = given ? args->v[at] : hyb_jundefined(p->name, false);
        for (i = 0; !given && i < args->n_named; i++)
            if (args->names[i]->n == p->name->n && !memcmp(args->names[i]->p, p->name->p, p->name->n)) {
                v = args->named[i];
                given = true;
            }
        if (!given && p->a && !hyb_jinja_eval(j, s, p->a, &v)) return false;
        if (!hyb_jscope_set(j, s, p->name, v)) return false;
    }
    for (; at < args->n; at++)
        if (!hyb_jinja_push(j, rest, args->v[at])) return false;
    key.type = HYB_J_STRING;
    if (!hyb_jarena_work(&j->arena, args->n_named * at)) return hyb_jinja_spent(j);
    for (i = 0; i < args->n_named; i++) {
        key.u.s = args->names[i];
        if (!hyb_jinja_parameter(macro, key.u.s) &&
            !hyb_jinja_check(j, hyb_jdict_set(&j->arena, more.u.dict, key, args->named[i])))
            return false;
    }
    if (rest.u.list->n && !j->tree->varargs)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the macro has fewer parameters than arguments are given");
    if (more.u.dict->n && !j->tree->kwargs)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the macro has no parameter '%.*s'",
                              (int)HYB_MIN(more.u.dict->entries[0].key.u.s->n, (size_t)60),
                              more.u.dict->entries[0].key.u.s->p);
    return (!j->tree->varargs || hyb_jscope_set(j, s, j->tree->varargs, rest)) &&
           (!j->tree->kwargs || hyb_jscope_set(j, s, j->tree->kwargs, more));
}

static bool hyb_jinja_call_macro(hyb_jinja *j, const hyb_jfunction *f, const hyb_jargs *args, hyb_jvalue caller,
                                 hyb_jvalue *out)
{
    hyb_jbuffer text, *outer;
    hyb_jscope *s = hyb_jscope_new(j, f->scope);
    bool ok;
    if (!s || !hyb_jinja_bind(j, s, f->node, args, caller)) return false;
    hyb_jinja_capture(j, &text, &outer);
    ok = hyb_jinja_run(j, s, f->node->c) != HYB_J_FAILED;
    return hyb_jinja_captured(j, outer, ok, out);
}

static bool hyb_jinja_loop(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue items, int nesting);

/* A value called with arguments. caller: what a call block gives to the macro, undefined elsewhere. */
static bool hyb_jinja_call(hyb_jinja *j, hyb_jvalue f, const hyb_jargs *args, hyb_jvalue caller, hyb_jvalue *out)
{
    if (f.type == HYB_J_FUNCTION && f.u.function->builtin) {
        bool safe = hyb_jis_safe(f.u.function->self);
        if (!hyb_jbuiltin_call(j, f.u.function->builtin, f.u.function->self, args, out)) return false;
        if (safe) hyb_jmark_safe(out);
        return true;
    }
    if (f.type == HYB_J_FUNCTION) return hyb_jinja_call_macro(j, f.u.function, args, caller, out);
    if (f.type == HYB_J_LOOP && f.u.loop->node->flag && args->n == 1) {
        hyb_jbuffer text, *outer;
        bool ok;
        hyb_jinja_capture(j, &text, &outer);
        ok = hyb_jinja_loop(j, f.u.loop->scope, f.u.loop->node, args->v[0], f.u.loop->nesting + 1);
        return hyb_jinja_captured(j, outer, ok, out);
    }
    if (f.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, f);
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be called", hyb_jtype_name(f));
}

/* A macro as a value. */
static bool hyb_jinja_macro(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    hyb_jscope *up;
    if (!hyb_jinja_method(j, hyb_jnone(), NULL, out)) return false;
    out->u.function->node = n;
    out->u.function->scope = s;
    for (up = s; up && !up->kept; up = up->parent) up->kept = true;
    return true;
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

static bool hyb_jinja_eval_list(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    const hyb_jnode *part;
    hyb_jvalue v;
    size_t count = 0;
    for (part = n->a; part; part = part->next) count++;
    if (!hyb_jinja_new_list(j, count, n->kind == HYB_J_TUPLE_OF ? HYB_J_TUPLE : HYB_J_PLAIN, out)) return false;
    for (part = n->a; part; part = part->next)
        if (!hyb_jinja_eval(j, s, part->a, &v) || !hyb_jinja_push(j, *out, v)) return false;
    return true;
}
static bool hyb_jinja_eval_dict(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    const hyb_jnode *m;
    hyb_jvalue key, value;
    if (!hyb_jinja_check(j, hyb_jdict_new(&j->arena, out))) return false;
    for (m = n->a; m; m = m->next) {
        if (!hyb_jinja_eval(j, s, m->a, &key) || !hyb_jinja_eval(j, s, m->b, &value)) return false;
        j->at = m->at;
        if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, key, value))) return false;
    }
    return true;
}
/* A first operand, then the others, as far as it stays true. */
static bool hyb_jinja_eval_compare(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *v)
{
    const hyb_jnode *part;
    hyb_jvalue right;
    bool yes = true;
    for (part = n->b; part && yes; part = part->next, *v = right) {
        if (!hyb_jinja_eval(j, s, part->a, &right)) return false;
        j->at = part->at;
        if (!hyb_jinja_compare(j, (hyb_jop)part->op, *v, right, &yes)) return false;
    }
    *v = hyb_jbool(yes);
    return true;
}
static bool hyb_jinja_eval_slice(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *v)
{
    hyb_jvalue a = hyb_jnone(), b = a, c = a;
    if ((n->b && !hyb_jinja_eval(j, s, n->b, &a)) || (n->c && !hyb_jinja_eval(j, s, n->c, &b)) ||
        (n->d && !hyb_jinja_eval(j, s, n->d, &c)))
        return false;
    j->at = n->at;
    /* jinja2 folds constants, where a slice that makes no sense is undefined */
    return hyb_jinja_slice(j, *v, a, b, c, n->a->kind == HYB_J_CONST, v);
}
/* What takes arguments: a call, a filter, a test. caller: what a call block gives to the macro, undefined elsewhere. */
static bool hyb_jinja_eval_call(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue caller, hyb_jvalue *v)
{
    hyb_jargs args;
    bool yes;
    if (!hyb_jinja_args(j, s, n->b, &args)) return false;
    j->at = n->at;
    if (n->kind == HYB_J_CALL) return hyb_jinja_call(j, *v, &args, caller, v);
    if (n->kind == HYB_J_FILTER) return hyb_jinja_filter(j, n->name, *v, &args, v);
    if (!hyb_jinja_test(j, n->name, *v, &args, &yes)) return false;
    *v = hyb_jbool(yes);
    return true;
}
static bool hyb_jinja_sign(hyb_jinja *j, hyb_jvalue v, bool minus, hyb_jvalue *out)
{
    if (v.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, v);
    if (v.type == HYB_J_BIG) return minus ? hyb_jinja_big_sign(j, v, false, out) : (*out = v, true);
    if (!hyb_jis_number(v)) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s has no sign", hyb_jtype_name(v));
    if (v.type == HYB_J_FLOAT) {
        *out = hyb_jfloat(minus ? -v.u.d : v.u.d);
        return true;
    }
    return hyb_jinja_integers(j, minus ? HYB_J_SUB : HYB_J_ADD, 0, hyb_jwhole(v), out);
}

/* One link of a chain: v is the value of n->a, and becomes that of n. */
static bool hyb_jinja_eval_link(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *v)
{
    hyb_jvalue b;
    j->at = n->at;
    switch (n->kind) {
    case HYB_J_NOT: *v = hyb_jbool(hyb_jtruth(*v) == n->flag); return true;
    case HYB_J_NEGATE:
    case HYB_J_PLUS: return hyb_jinja_sign(j, *v, n->kind == HYB_J_NEGATE, v);
    case HYB_J_ATTRIBUTE: return hyb_jinja_attribute(j, *v, n->name, v);
    case HYB_J_SLICE: return hyb_jinja_eval_slice(j, s, n, v);
    case HYB_J_COMPARE: return hyb_jinja_eval_compare(j, s, n, v);
    case HYB_J_CALL:
    case HYB_J_FILTER:
    case HYB_J_TEST: return hyb_jinja_eval_call(j, s, n, hyb_jundefined(j->tree->caller, false), v);
    case HYB_J_AND:
    case HYB_J_OR: return hyb_jtruth(*v) == (n->kind == HYB_J_OR) || hyb_jinja_eval(j, s, n->b, v);
    default: break;
    }
    if (!hyb_jinja_eval(j, s, n->b, &b)) return false;
    j->at = n->at;
    return n->kind == HYB_J_ITEM ? hyb_jinja_item(j, *v, b, v) : hyb_jinja_binary(j, (hyb_jop)n->op, *v, b, v);
}

/* What a chain begins with. */
static bool hyb_jinja_eval_leaf(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    switch (n->kind) {
    case HYB_J_CONST: *out = n->value; return true;
    case HYB_J_VARIABLE: return hyb_jinja_lookup(j, s, n->name, out);
    case HYB_J_DICT_OF: return hyb_jinja_eval_dict(j, s, n, out);
    default: return hyb_jinja_eval_list(j, s, n, out);
    }
}

/* Which of its two values a choice has; NULL: undefined, or (result set) an error. */
static const hyb_jnode *hyb_jinja_choice(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n)
{
    hyb_jvalue yes;
    if (!hyb_jinja_eval(j, s, n->b, &yes)) return NULL;
    return hyb_jtruth(yes) ? n->a : n->c;
}

HYB_INLINE bool hyb_jnode_is_link(const hyb_jnode *n) { return n->kind >= HYB_J_NOT && n->kind <= HYB_J_TEST; }

/* The chain that ends in top, from its innermost link on; given: the value before a link without one, of filter
 * blocks. */
static bool hyb_jinja_eval_chain(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *top, const hyb_jvalue *given,
                                 hyb_jvalue *out)
{
    const hyb_jnode *n = top;
    for (;;) {
        while (hyb_jnode_is_link(n) && n->a) n = n->a;
        if (n->kind != HYB_J_CHOICE) break;
        if (n == top) {
            if ((n = top = hyb_jinja_choice(j, s, n)) != NULL) continue;
            *out = hyb_jundefined(NULL, false);
            return !j->result;
        }
        if (!hyb_jinja_eval(j, s, n, out)) return false;
        break;
    }
    if (hyb_jnode_is_link(n)) {
        *out = *given;
        if (!hyb_jinja_eval_link(j, s, n, out)) return false;
    } else if (n->kind != HYB_J_CHOICE && !hyb_jinja_eval_leaf(j, s, n, out)) {
        return false;
    }
    while (n != top) {
        n = n->outer;
        if (!hyb_jarena_work(&j->arena, 1)) return hyb_jinja_spent(j);
        if (!hyb_jinja_eval_link(j, s, n, out)) return false;
    }
    return true;
}
static bool hyb_jinja_eval(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    bool ok;
    j->at = n->at;
    if (!hyb_jinja_enter(j)) return false;
    ok = hyb_jinja_eval_chain(j, s, n, NULL, out);
    j->depth++;
    return ok;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static bool hyb_jinja_assign(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *target, hyb_jvalue v)
{
    hyb_jvalue holder, key = hyb_jnone();
    const hyb_jnode *part;
    hyb_jlist *items;
    size_t i = 0, count = 0;
    bool ok = true;
    j->at = target->at;
    if (target->kind == HYB_J_VARIABLE) return hyb_jscope_set(j, s, target->name, v);
    if (target->kind == HYB_J_ATTRIBUTE) {
        if (!hyb_jinja_lookup(j, s, target->a->name, &holder)) return false;
        if (holder.type != HYB_J_NAMESPACE)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "only members of a namespace can be set, not those of a %s",
                                  hyb_jtype_name(holder));
        key.type = HYB_J_STRING;
        key.u.s = target->name;
        return hyb_jinja_check(j, hyb_jdict_set(&j->arena, holder.u.dict, key, v));
    }
    if (!hyb_jinja_items(j, v, &items)) return false;
    for (part = target->a; part; part = part->next) count++;
    if (items->n != count)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%lu values cannot be spread over %lu names",
                              (unsigned long)items->n, (unsigned long)count);
    if (!hyb_jinja_enter(j)) return false;
    for (part = target->a; part && ok; part = part->next) ok = hyb_jinja_assign(j, s, part->a, items->items[i++]);
    j->depth++;
    return ok;
}

/* The items for which the loop's condition holds; the condition sees the loop's names. */
static bool hyb_jinja_choose(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jlist **items)
{
    hyb_jvalue list, yes;
    hyb_jscope inner;
    size_t i;
    hyb_jscope_open(&inner, s);
    if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, &list)) return false;
    for (i = 0; i < (*items)->n; i++) {
        if (!hyb_jinja_assign(j, &inner, n->a, (*items)->items[i]) || !hyb_jinja_eval(j, &inner, n->d->a, &yes))
            return false;
        if (hyb_jtruth(yes) && !hyb_jinja_push(j, list, (*items)->items[i])) return false;
    }
    *items = list.u.list;
    return true;
}

static bool hyb_jinja_loop(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue of, int nesting)
{
    hyb_jlist *items;
    hyb_jscope *inner = NULL;
    hyb_jvalue v = hyb_jnone();
    hyb_jloop *loop;
    hyb_jflow flow = HYB_J_NEXT;
    bool whole = false; /* a turn came to its end */
    j->at = n->at;
    if (!hyb_jinja_items(j, of, &items) || (n->d->a && !hyb_jinja_choose(j, s, n, &items))) return false;
    if (!items->n) {
        if (!(inner = hyb_jscope_new(j, s))) return false;
        return !n->d->b || hyb_jinja_run(j, inner, n->d->b) != HYB_J_FAILED;
    }
    if (!(loop = (hyb_jloop *)hyb_jarena_alloc(&j->arena, sizeof *loop))) return hyb_jinja_spent(j);
    memset(loop, 0, sizeof *loop);
    loop->items = items;
    loop->nesting = nesting;
    loop->node = n;
    loop->scope = s;
    loop->last.type = HYB_J_MISSING;
    v.type = HYB_J_LOOP;
    v.u.loop = loop;
    for (; loop->i < items->n && flow != HYB_J_BROKEN; loop->i++) {
        if (inner && !inner->kept)
            inner->n = 0; /* every turn starts with what is set outside */
        else if (!(inner = hyb_jscope_new(j, s)))
            return false;
        if ((j->tree->loop && !hyb_jscope_set(j, inner, j->tree->loop, v)) ||
            !hyb_jinja_assign(j, inner, n->a, items->items[loop->i]))
            return false;
        if ((flow = hyb_jinja_run(j, inner, n->c)) == HYB_J_FAILED) return false;
        whole = whole || flow == HYB_J_NEXT;
    }
    if (whole || !n->d->b) return true; /* all turns were cut short by break or continue: that is "else" too */
    return (inner = hyb_jscope_new(j, s)) != NULL && hyb_jinja_run(j, inner, n->d->b) != HYB_J_FAILED;
}

/* A body whose output becomes a value, through filters if there are any. */
static bool hyb_jinja_block_value(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jvalue *out)
{
    hyb_jbuffer text, *outer;
    hyb_jscope *inner = hyb_jscope_new(j, s);
    bool ok;
    if (!inner) return false;
    hyb_jinja_capture(j, &text, &outer);
    ok = hyb_jinja_run(j, inner, n->c) != HYB_J_FAILED;
    return hyb_jinja_captured(j, outer, ok, out) && (!n->b || hyb_jinja_eval_chain(j, s, n->b, out, out));
}

static bool hyb_jinja_with(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jflow *flow)
{
    hyb_jscope *inner = hyb_jscope_new(j, s);
    const hyb_jnode *set;
    hyb_jvalue v;
    if (!inner) return false;
    for (set = n->b; set; set = set->next)
        if (!hyb_jinja_eval(j, s, set->b, &v) || !hyb_jinja_assign(j, inner, set->a, v)) return false;
    *flow = hyb_jinja_run(j, inner, n->c);
    return true;
}

static bool hyb_jinja_if(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jflow *flow)
{
    hyb_jvalue v;
    for (; n; n = n->c) {
        if (!hyb_jinja_eval(j, s, n->a, &v)) return false;
        if (hyb_jtruth(v)) {
            *flow = hyb_jinja_run(j, s, n->b);
            return true;
        }
        if (n->flag) {
            *flow = hyb_jinja_run(j, s, n->c);
            return true;
        }
    }
    return true;
}

static bool hyb_jinja_print(hyb_jinja *j, hyb_jvalue v)
{
    return (j->js && v.type == HYB_J_NONE) || hyb_jinja_str(j, j->out, v);
}

static bool hyb_jinja_statement(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n, hyb_jflow *flow)
{
    hyb_jscope *inner;
    hyb_jvalue v, caller;
    j->at = n->at;
    switch (n->kind) {
    case HYB_J_OUTPUT_TEXT: return hyb_jinja_put(j, j->out, n->value.u.s->p, n->value.u.s->n);
    case HYB_J_OUTPUT:
        if (!hyb_jinja_eval(j, s, n->a, &v) || !hyb_jinja_print(j, v)) return false;
        for (n = n->b; n; n = n->next)
            if (!hyb_jinja_eval(j, s, n->a, &v) || !hyb_jinja_print(j, v)) return false;
        return true;
    case HYB_J_IF: return hyb_jinja_if(j, s, n, flow);
    case HYB_J_FOR: return hyb_jinja_eval(j, s, n->b, &v) && hyb_jinja_loop(j, s, n, v, 0);
    case HYB_J_SET: return hyb_jinja_eval(j, s, n->b, &v) && hyb_jinja_assign(j, s, n->a, v);
    case HYB_J_SET_BLOCK: return hyb_jinja_block_value(j, s, n, &v) && hyb_jinja_assign(j, s, n->a, v);
    case HYB_J_FILTER_BLOCK: return hyb_jinja_block_value(j, s, n, &v) && hyb_jinja_print(j, v);
    case HYB_J_MACRO: return hyb_jinja_macro(j, s, n, &v) && hyb_jscope_set(j, s, n->name, v);
    case HYB_J_CALL_BLOCK:
        return hyb_jinja_macro(j, s, n, &caller) && hyb_jinja_eval(j, s, n->a->a, &v) &&
               hyb_jinja_eval_call(j, s, n->a, caller, &v) && hyb_jinja_print(j, v);
    case HYB_J_WITH: return hyb_jinja_with(j, s, n, flow);
    case HYB_J_BLOCK: return (inner = hyb_jscope_new(j, s)) != NULL && hyb_jinja_run(j, inner, n->c) != HYB_J_FAILED;
    default: *flow = n->kind == HYB_J_BREAK ? HYB_J_BROKEN : HYB_J_CONTINUED; return true;
    }
}

static hyb_jflow hyb_jinja_run(hyb_jinja *j, hyb_jscope *s, const hyb_jnode *n)
{
    hyb_jflow flow = HYB_J_NEXT;
    if (!hyb_jinja_enter(j)) return HYB_J_FAILED;
    for (; n && flow == HYB_J_NEXT; n = n->next) {
        if (!hyb_jarena_work(&j->arena, 1)) {
            hyb_jinja_spent(j);
            flow = HYB_J_FAILED;
        } else if (!hyb_jinja_statement(j, s, n, &flow))
            flow = HYB_J_FAILED;
    }
    j->depth++;
    return flow;
}
#endif
