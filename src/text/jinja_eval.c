/* text/jinja_eval: runs a tree: expressions to values, statements to output. Every recursion is counted (max_depth), every node costs
 * a step (max_steps). */

/* Names that were set here; below them those of the block around. A macro keeps the scope it was defined in. */
typedef struct hybrid__jbinding { const hybrid__jstring *name; hybrid__jvalue value; } hybrid__jbinding;
struct hybrid__jscope {
    hybrid__jscope   *parent;
    hybrid__jbinding *vars;
    size_t            n, capacity;
    bool              kept;              /* by a macro: a loop must not use it for its next turn */
};

typedef enum hybrid__jflow { HYBRID__J_NEXT, HYBRID__J_BROKEN, HYBRID__J_CONTINUED, HYBRID__J_FAILED } hybrid__jflow;

static bool hybrid__jinja_eval(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out);
static hybrid__jflow hybrid__jinja_run(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n);

static void hybrid__jscope_open(hybrid__jscope *s, hybrid__jscope *parent) { memset(s, 0, sizeof *s); s->parent = parent; }
/* One that a macro may keep. */
static hybrid__jscope *hybrid__jscope_new(hybrid__jinja *j, hybrid__jscope *parent)
{
    hybrid__jscope *s = (hybrid__jscope *)hybrid__jarena_alloc(&j->arena, sizeof *s);
    if (s) hybrid__jscope_open(s, parent);
    else hybrid__jinja_spent(j);
    return s;
}
static bool hybrid__jscope_set(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jstring *name, hybrid__jvalue value)
{
    size_t i;
    if (!hybrid__jarena_work(&j->arena, 1 + s->n / 8)) return hybrid__jinja_spent(j);
    for (i = 0; i < s->n; i++) if (s->vars[i].name == name) { s->vars[i].value = value; return true; }
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 4;
        hybrid__jbinding *vars = (hybrid__jbinding *)hybrid__jarena_alloc(&j->arena, capacity * sizeof *vars);
        if (!vars) return hybrid__jinja_spent(j);
        if (s->n) memcpy(vars, s->vars, s->n * sizeof *vars);
        s->vars = vars;
        s->capacity = capacity;
    }
    s->vars[s->n].name = name;
    s->vars[s->n++].value = value;
    return true;
}

/* From the inside out, then what the caller gave, then what every template has. */
static bool hybrid__jinja_lookup(hybrid__jinja *j, const hybrid__jscope *s, hybrid__jstring *name, hybrid__jvalue *out)
{
    hybrid__jvalue key = hybrid__jnone();
    const hybrid__jbuiltin *f;
    const hybrid__jentry *e;
    size_t i;
    for (; s; s = s->parent) {
        if (!hybrid__jarena_work(&j->arena, 1 + s->n / 8)) return hybrid__jinja_spent(j);
        for (i = 0; i < s->n; i++) if (s->vars[i].name == name) { *out = s->vars[i].value; return true; }
    }
    key.type = HYBRID__J_STRING;
    key.u.s = name;
    if ((e = hybrid__jdict_find(&j->arena, j->context, key)) != NULL) { *out = e->value; return true; }
    if (j->arena.result) return hybrid__jinja_spent(j);
    if ((f = hybrid__jbuiltin_find(hybrid__jglobals, HYBRID__COUNT(hybrid__jglobals), name->p, name->n)) != NULL) return hybrid__jinja_method(j, hybrid__jnone(), f, out);
    *out = hybrid__jundefined(name, false);
    return true;
}

/* ---- capturing output ---- */

static void hybrid__jinja_capture(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jbuffer **outer)
{
    b->data = NULL;
    b->size = b->capacity = 0;
    *outer = j->out;
    j->out = b;
}
static bool hybrid__jinja_captured(hybrid__jinja *j, hybrid__jbuffer *outer, bool ok, hybrid__jvalue *out)
{
    hybrid__jbuffer *b = j->out;
    j->out = outer;
    return ok && hybrid__jinja_text(j, b, out);
}

/* ---- calls ---- */

/* All arguments of a call, stars unfolded. */
static bool hybrid__jinja_args(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *list, hybrid__jargs *args)
{
    hybrid__jvalue plain, named, v;
    hybrid__jlist *items;
    const hybrid__jnode *n;
    size_t i, count = 0;
    memset(args, 0, sizeof *args);
    if (!list) return true;
    for (n = list; n; n = n->next) count++;
    if (!hybrid__jinja_new_list(j, count, HYBRID__J_PLAIN, &plain) || !hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &named))) return false;
    for (n = list; n; n = n->next) {
        if (!hybrid__jinja_eval(j, s, n->a, &v)) return false;
        j->at = n->at;
        if (n->kind == HYBRID__J_POSITIONAL) {
            if (!hybrid__jinja_push(j, plain, v)) return false;
        } else if (n->kind == HYBRID__J_STAR) {
            if (!hybrid__jinja_items(j, v, &items)) return false;
            for (i = 0; i < items->n; i++) if (!hybrid__jinja_push(j, plain, items->items[i])) return false;
        } else if (n->kind == HYBRID__J_KEYWORD) {
            hybrid__jvalue key = hybrid__jnone();
            key.type = HYBRID__J_STRING;
            key.u.s = n->name;
            if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, named.u.dict, key, v))) return false;
        } else {
            if (v.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "** needs a dict, not a %s", hybrid__jtype_name(v));
            for (i = 0; i < v.u.dict->n; i++) {
                if (v.u.dict->entries[i].key.type != HYBRID__J_STRING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "** needs a dict with strings as keys");
                if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, named.u.dict, v.u.dict->entries[i].key, v.u.dict->entries[i].value))) return false;
            }
        }
    }
    args->v = plain.u.list->items;
    args->n = plain.u.list->n;
    if ((args->n_named = named.u.dict->n) == 0) return true;
    args->names = (hybrid__jstring **)hybrid__jarena_alloc(&j->arena, args->n_named * sizeof *args->names);
    args->named = (hybrid__jvalue *)hybrid__jarena_alloc(&j->arena, args->n_named * sizeof *args->named);
    if (!args->names || !args->named) return hybrid__jinja_spent(j);
    for (i = 0; i < args->n_named; i++) {
        args->names[i] = named.u.dict->entries[i].key.u.s;
        args->named[i] = named.u.dict->entries[i].value;
    }
    return true;
}

/* The parameter of a macro by the bytes of its name, or NULL. */
static const hybrid__jnode *hybrid__jinja_parameter(const hybrid__jnode *macro, const hybrid__jstring *name)
{
    const hybrid__jnode *p = macro->b;
    while (p && (p->name->n != name->n || memcmp(p->name->p, name->p, name->n))) p = p->next;
    return p;
}

/* Puts the arguments into the macro's scope. What has no parameter goes to varargs and kwargs, if the template speaks of them. */
static bool hybrid__jinja_bind(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *macro, const hybrid__jargs *args, hybrid__jvalue caller)
{
    hybrid__jvalue rest, more, v, key = hybrid__jnone();
    const hybrid__jnode *p;
    size_t i, at = 0;
    if (j->tree->caller && !hybrid__jscope_set(j, s, j->tree->caller, caller)) return false;
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_TUPLE, &rest) || !hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &more))) return false;
    for (p = macro->b; p; p = p->next, at++) {
        bool given = at < args->n;
        if (!hybrid__jarena_work(&j->arena, 1 + args->n_named)) return hybrid__jinja_spent(j);
        v = given ? args->v[at] : hybrid__jundefined(p->name, false);
        for (i = 0; !given && i < args->n_named; i++)
            if (args->names[i]->n == p->name->n && !memcmp(args->names[i]->p, p->name->p, p->name->n)) { v = args->named[i]; given = true; }
        if (!given && p->a && !hybrid__jinja_eval(j, s, p->a, &v)) return false;
        if (!hybrid__jscope_set(j, s, p->name, v)) return false;
    }
    for (; at < args->n; at++) if (!hybrid__jinja_push(j, rest, args->v[at])) return false;
    key.type = HYBRID__J_STRING;
    if (!hybrid__jarena_work(&j->arena, args->n_named * at)) return hybrid__jinja_spent(j);
    for (i = 0; i < args->n_named; i++) {
        key.u.s = args->names[i];
        if (!hybrid__jinja_parameter(macro, key.u.s) && !hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, more.u.dict, key, args->named[i]))) return false;
    }
    if (rest.u.list->n && !j->tree->varargs) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the macro has fewer parameters than arguments are given");
    if (more.u.dict->n && !j->tree->kwargs)
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the macro has no parameter '%.*s'", (int)HYBRID__MIN(more.u.dict->entries[0].key.u.s->n, (size_t)60), more.u.dict->entries[0].key.u.s->p);
    return (!j->tree->varargs || hybrid__jscope_set(j, s, j->tree->varargs, rest)) && (!j->tree->kwargs || hybrid__jscope_set(j, s, j->tree->kwargs, more));
}

static bool hybrid__jinja_call_macro(hybrid__jinja *j, const hybrid__jfunction *f, const hybrid__jargs *args, hybrid__jvalue caller, hybrid__jvalue *out)
{
    hybrid__jbuffer text, *outer;
    hybrid__jscope *s = hybrid__jscope_new(j, f->scope);
    bool ok;
    if (!s || !hybrid__jinja_bind(j, s, f->node, args, caller)) return false;
    hybrid__jinja_capture(j, &text, &outer);
    ok = hybrid__jinja_run(j, s, f->node->c) != HYBRID__J_FAILED;
    return hybrid__jinja_captured(j, outer, ok, out);
}

static bool hybrid__jinja_loop(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue items, int nesting);

/* A value called with arguments. caller: what a call block gives to the macro, undefined elsewhere. */
static bool hybrid__jinja_call(hybrid__jinja *j, hybrid__jvalue f, const hybrid__jargs *args, hybrid__jvalue caller, hybrid__jvalue *out)
{
    if (f.type == HYBRID__J_FUNCTION && f.u.function->builtin) {
        bool safe = hybrid__jis_safe(f.u.function->self);
        if (!hybrid__jbuiltin_call(j, f.u.function->builtin, f.u.function->self, args, out)) return false;
        if (safe) hybrid__jmark_safe(out);
        return true;
    }
    if (f.type == HYBRID__J_FUNCTION) return hybrid__jinja_call_macro(j, f.u.function, args, caller, out);
    if (f.type == HYBRID__J_LOOP && f.u.loop->node->flag && args->n == 1) {
        hybrid__jbuffer text, *outer;
        bool ok;
        hybrid__jinja_capture(j, &text, &outer);
        ok = hybrid__jinja_loop(j, f.u.loop->scope, f.u.loop->node, args->v[0], f.u.loop->nesting + 1);
        return hybrid__jinja_captured(j, outer, ok, out);
    }
    if (f.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, f);
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s cannot be called", hybrid__jtype_name(f));
}

/* A macro as a value. */
static bool hybrid__jinja_macro(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    hybrid__jscope *up;
    if (!hybrid__jinja_method(j, hybrid__jnone(), NULL, out)) return false;
    out->u.function->node = n;
    out->u.function->scope = s;
    for (up = s; up && !up->kept; up = up->parent) up->kept = true;
    return true;
}

/* ---- expressions ---- */

static bool hybrid__jinja_eval_list(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    const hybrid__jnode *part;
    hybrid__jvalue v;
    size_t count = 0;
    for (part = n->a; part; part = part->next) count++;
    if (!hybrid__jinja_new_list(j, count, n->kind == HYBRID__J_TUPLE_OF ? HYBRID__J_TUPLE : HYBRID__J_PLAIN, out)) return false;
    for (part = n->a; part; part = part->next) if (!hybrid__jinja_eval(j, s, part->a, &v) || !hybrid__jinja_push(j, *out, v)) return false;
    return true;
}
static bool hybrid__jinja_eval_dict(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    const hybrid__jnode *m;
    hybrid__jvalue key, value;
    if (!hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, out))) return false;
    for (m = n->a; m; m = m->next) {
        if (!hybrid__jinja_eval(j, s, m->a, &key) || !hybrid__jinja_eval(j, s, m->b, &value)) return false;
        j->at = m->at;
        if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, key, value))) return false;
    }
    return true;
}
/* A first operand, then the others, as far as it stays true. */
static bool hybrid__jinja_eval_compare(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *v)
{
    const hybrid__jnode *part;
    hybrid__jvalue right;
    bool yes = true;
    for (part = n->b; part && yes; part = part->next, *v = right) {
        if (!hybrid__jinja_eval(j, s, part->a, &right)) return false;
        j->at = part->at;
        if (!hybrid__jinja_compare(j, (hybrid__jop)part->op, *v, right, &yes)) return false;
    }
    *v = hybrid__jbool(yes);
    return true;
}
static bool hybrid__jinja_eval_slice(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *v)
{
    hybrid__jvalue a = hybrid__jnone(), b = a, c = a;
    if ((n->b && !hybrid__jinja_eval(j, s, n->b, &a)) || (n->c && !hybrid__jinja_eval(j, s, n->c, &b))
        || (n->d && !hybrid__jinja_eval(j, s, n->d, &c))) return false;
    j->at = n->at;
    /* jinja2 folds constants, where a slice that makes no sense is undefined */
    return hybrid__jinja_slice(j, *v, a, b, c, n->a->kind == HYBRID__J_CONST, v);
}
/* What takes arguments: a call, a filter, a test. caller: what a call block gives to the macro, undefined elsewhere. */
static bool hybrid__jinja_eval_call(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue caller, hybrid__jvalue *v)
{
    hybrid__jargs args;
    bool yes;
    if (!hybrid__jinja_args(j, s, n->b, &args)) return false;
    j->at = n->at;
    if (n->kind == HYBRID__J_CALL) return hybrid__jinja_call(j, *v, &args, caller, v);
    if (n->kind == HYBRID__J_FILTER) return hybrid__jinja_filter(j, n->name, *v, &args, v);
    if (!hybrid__jinja_test(j, n->name, *v, &args, &yes)) return false;
    *v = hybrid__jbool(yes);
    return true;
}
static bool hybrid__jinja_sign(hybrid__jinja *j, hybrid__jvalue v, bool minus, hybrid__jvalue *out)
{
    if (v.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, v);
    if (v.type == HYBRID__J_BIG) return minus ? hybrid__jinja_big_sign(j, v, false, out) : (*out = v, true);
    if (!hybrid__jis_number(v)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s has no sign", hybrid__jtype_name(v));
    if (v.type == HYBRID__J_FLOAT) { *out = hybrid__jfloat(minus ? -v.u.d : v.u.d); return true; }
    return hybrid__jinja_integers(j, minus ? HYBRID__J_SUB : HYBRID__J_ADD, 0, hybrid__jwhole(v), out);
}

/* One link of a chain: v is the value of n->a, and becomes that of n. */
static bool hybrid__jinja_eval_link(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *v)
{
    hybrid__jvalue b;
    j->at = n->at;
    switch (n->kind) {
    case HYBRID__J_NOT: *v = hybrid__jbool(hybrid__jtruth(*v) == n->flag); return true;
    case HYBRID__J_NEGATE: case HYBRID__J_PLUS: return hybrid__jinja_sign(j, *v, n->kind == HYBRID__J_NEGATE, v);
    case HYBRID__J_ATTRIBUTE: return hybrid__jinja_attribute(j, *v, n->name, v);
    case HYBRID__J_SLICE: return hybrid__jinja_eval_slice(j, s, n, v);
    case HYBRID__J_COMPARE: return hybrid__jinja_eval_compare(j, s, n, v);
    case HYBRID__J_CALL: case HYBRID__J_FILTER: case HYBRID__J_TEST:
        return hybrid__jinja_eval_call(j, s, n, hybrid__jundefined(j->tree->caller, false), v);
    case HYBRID__J_AND: case HYBRID__J_OR:
        return hybrid__jtruth(*v) == (n->kind == HYBRID__J_OR) || hybrid__jinja_eval(j, s, n->b, v);
    default: break;
    }
    if (!hybrid__jinja_eval(j, s, n->b, &b)) return false;
    j->at = n->at;
    return n->kind == HYBRID__J_ITEM ? hybrid__jinja_item(j, *v, b, v) : hybrid__jinja_binary(j, (hybrid__jop)n->op, *v, b, v);
}

/* What a chain begins with. */
static bool hybrid__jinja_eval_leaf(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    switch (n->kind) {
    case HYBRID__J_CONST: *out = n->value; return true;
    case HYBRID__J_VARIABLE: return hybrid__jinja_lookup(j, s, n->name, out);
    case HYBRID__J_DICT_OF: return hybrid__jinja_eval_dict(j, s, n, out);
    default: return hybrid__jinja_eval_list(j, s, n, out);
    }
}

/* Which of its two values a choice has; NULL: undefined, or (result set) an error. */
static const hybrid__jnode *hybrid__jinja_choice(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n)
{
    hybrid__jvalue yes;
    if (!hybrid__jinja_eval(j, s, n->b, &yes)) return NULL;
    return hybrid__jtruth(yes) ? n->a : n->c;
}

HYBRID__INLINE bool hybrid__jnode_is_link(const hybrid__jnode *n) { return n->kind >= HYBRID__J_NOT && n->kind <= HYBRID__J_TEST; }

/* The chain that ends in top, from its innermost link on; given: the value before a link without one, of filter blocks. */
static bool hybrid__jinja_eval_chain(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *top, const hybrid__jvalue *given, hybrid__jvalue *out)
{
    const hybrid__jnode *n = top;
    for (;;) {
        while (hybrid__jnode_is_link(n) && n->a) n = n->a;
        if (n->kind != HYBRID__J_CHOICE) break;
        if (n == top) {
            if ((n = top = hybrid__jinja_choice(j, s, n)) != NULL) continue;
            *out = hybrid__jundefined(NULL, false);
            return !j->result;
        }
        if (!hybrid__jinja_eval(j, s, n, out)) return false;
        break;
    }
    if (hybrid__jnode_is_link(n)) {
        *out = *given;
        if (!hybrid__jinja_eval_link(j, s, n, out)) return false;
    } else if (n->kind != HYBRID__J_CHOICE && !hybrid__jinja_eval_leaf(j, s, n, out)) {
        return false;
    }
    while (n != top) {
        n = n->outer;
        if (!hybrid__jarena_work(&j->arena, 1)) return hybrid__jinja_spent(j);
        if (!hybrid__jinja_eval_link(j, s, n, out)) return false;
    }
    return true;
}
static bool hybrid__jinja_eval(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    bool ok;
    j->at = n->at;
    if (!hybrid__jinja_enter(j)) return false;
    ok = hybrid__jinja_eval_chain(j, s, n, NULL, out);
    j->depth++;
    return ok;
}

/* ---- statements ---- */

static bool hybrid__jinja_assign(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *target, hybrid__jvalue v)
{
    hybrid__jvalue holder, key = hybrid__jnone();
    const hybrid__jnode *part;
    hybrid__jlist *items;
    size_t i = 0, count = 0;
    bool ok = true;
    j->at = target->at;
    if (target->kind == HYBRID__J_VARIABLE) return hybrid__jscope_set(j, s, target->name, v);
    if (target->kind == HYBRID__J_ATTRIBUTE) {
        if (!hybrid__jinja_lookup(j, s, target->a->name, &holder)) return false;
        if (holder.type != HYBRID__J_NAMESPACE) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "only members of a namespace can be set, not those of a %s", hybrid__jtype_name(holder));
        key.type = HYBRID__J_STRING;
        key.u.s = target->name;
        return hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, holder.u.dict, key, v));
    }
    if (!hybrid__jinja_items(j, v, &items)) return false;
    for (part = target->a; part; part = part->next) count++;
    if (items->n != count) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%lu values cannot be spread over %lu names", (unsigned long)items->n, (unsigned long)count);
    if (!hybrid__jinja_enter(j)) return false;
    for (part = target->a; part && ok; part = part->next) ok = hybrid__jinja_assign(j, s, part->a, items->items[i++]);
    j->depth++;
    return ok;
}

/* The items for which the loop's condition holds; the condition sees the loop's names. */
static bool hybrid__jinja_choose(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jlist **items)
{
    hybrid__jvalue list, yes;
    hybrid__jscope inner;
    size_t i;
    hybrid__jscope_open(&inner, s);
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, &list)) return false;
    for (i = 0; i < (*items)->n; i++) {
        if (!hybrid__jinja_assign(j, &inner, n->a, (*items)->items[i]) || !hybrid__jinja_eval(j, &inner, n->d->a, &yes)) return false;
        if (hybrid__jtruth(yes) && !hybrid__jinja_push(j, list, (*items)->items[i])) return false;
    }
    *items = list.u.list;
    return true;
}

static bool hybrid__jinja_loop(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue of, int nesting)
{
    hybrid__jlist *items;
    hybrid__jscope *inner = NULL;
    hybrid__jvalue v = hybrid__jnone();
    hybrid__jloop *loop;
    hybrid__jflow flow = HYBRID__J_NEXT;
    bool whole = false;                                      /* a turn came to its end */
    j->at = n->at;
    if (!hybrid__jinja_items(j, of, &items) || (n->d->a && !hybrid__jinja_choose(j, s, n, &items))) return false;
    if (!items->n) {
        if (!(inner = hybrid__jscope_new(j, s))) return false;
        return !n->d->b || hybrid__jinja_run(j, inner, n->d->b) != HYBRID__J_FAILED;
    }
    if (!(loop = (hybrid__jloop *)hybrid__jarena_alloc(&j->arena, sizeof *loop))) return hybrid__jinja_spent(j);
    memset(loop, 0, sizeof *loop);
    loop->items = items;
    loop->nesting = nesting;
    loop->node = n;
    loop->scope = s;
    loop->last.type = HYBRID__J_MISSING;
    v.type = HYBRID__J_LOOP;
    v.u.loop = loop;
    for (; loop->i < items->n && flow != HYBRID__J_BROKEN; loop->i++) {
        if (inner && !inner->kept) inner->n = 0;             /* every turn starts with what is set outside */
        else if (!(inner = hybrid__jscope_new(j, s))) return false;
        if ((j->tree->loop && !hybrid__jscope_set(j, inner, j->tree->loop, v)) || !hybrid__jinja_assign(j, inner, n->a, items->items[loop->i])) return false;
        if ((flow = hybrid__jinja_run(j, inner, n->c)) == HYBRID__J_FAILED) return false;
        whole = whole || flow == HYBRID__J_NEXT;
    }
    if (whole || !n->d->b) return true;                      /* all turns were cut short by break or continue: that is "else" too */
    return (inner = hybrid__jscope_new(j, s)) != NULL && hybrid__jinja_run(j, inner, n->d->b) != HYBRID__J_FAILED;
}

/* A body whose output becomes a value, through filters if there are any. */
static bool hybrid__jinja_block_value(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jvalue *out)
{
    hybrid__jbuffer text, *outer;
    hybrid__jscope *inner = hybrid__jscope_new(j, s);
    bool ok;
    if (!inner) return false;
    hybrid__jinja_capture(j, &text, &outer);
    ok = hybrid__jinja_run(j, inner, n->c) != HYBRID__J_FAILED;
    return hybrid__jinja_captured(j, outer, ok, out) && (!n->b || hybrid__jinja_eval_chain(j, s, n->b, out, out));
}

static bool hybrid__jinja_with(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jflow *flow)
{
    hybrid__jscope *inner = hybrid__jscope_new(j, s);
    const hybrid__jnode *set;
    hybrid__jvalue v;
    if (!inner) return false;
    for (set = n->b; set; set = set->next) if (!hybrid__jinja_eval(j, s, set->b, &v) || !hybrid__jinja_assign(j, inner, set->a, v)) return false;
    *flow = hybrid__jinja_run(j, inner, n->c);
    return true;
}

static bool hybrid__jinja_if(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jflow *flow)
{
    hybrid__jvalue v;
    for (; n; n = n->c) {
        if (!hybrid__jinja_eval(j, s, n->a, &v)) return false;
        if (hybrid__jtruth(v)) { *flow = hybrid__jinja_run(j, s, n->b); return true; }
        if (n->flag) { *flow = hybrid__jinja_run(j, s, n->c); return true; }
    }
    return true;
}

static bool hybrid__jinja_print(hybrid__jinja *j, hybrid__jvalue v)
{
    return (j->js && v.type == HYBRID__J_NONE) || hybrid__jinja_str(j, j->out, v);
}

static bool hybrid__jinja_statement(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n, hybrid__jflow *flow)
{
    hybrid__jscope *inner;
    hybrid__jvalue v, caller;
    j->at = n->at;
    switch (n->kind) {
    case HYBRID__J_OUTPUT_TEXT: return hybrid__jinja_put(j, j->out, n->value.u.s->p, n->value.u.s->n);
    case HYBRID__J_OUTPUT:
        if (!hybrid__jinja_eval(j, s, n->a, &v) || !hybrid__jinja_print(j, v)) return false;
        for (n = n->b; n; n = n->next) if (!hybrid__jinja_eval(j, s, n->a, &v) || !hybrid__jinja_print(j, v)) return false;
        return true;
    case HYBRID__J_IF: return hybrid__jinja_if(j, s, n, flow);
    case HYBRID__J_FOR: return hybrid__jinja_eval(j, s, n->b, &v) && hybrid__jinja_loop(j, s, n, v, 0);
    case HYBRID__J_SET: return hybrid__jinja_eval(j, s, n->b, &v) && hybrid__jinja_assign(j, s, n->a, v);
    case HYBRID__J_SET_BLOCK: return hybrid__jinja_block_value(j, s, n, &v) && hybrid__jinja_assign(j, s, n->a, v);
    case HYBRID__J_FILTER_BLOCK: return hybrid__jinja_block_value(j, s, n, &v) && hybrid__jinja_print(j, v);
    case HYBRID__J_MACRO: return hybrid__jinja_macro(j, s, n, &v) && hybrid__jscope_set(j, s, n->name, v);
    case HYBRID__J_CALL_BLOCK:
        return hybrid__jinja_macro(j, s, n, &caller) && hybrid__jinja_eval(j, s, n->a->a, &v) && hybrid__jinja_eval_call(j, s, n->a, caller, &v)
            && hybrid__jinja_print(j, v);
    case HYBRID__J_WITH: return hybrid__jinja_with(j, s, n, flow);
    case HYBRID__J_BLOCK: return (inner = hybrid__jscope_new(j, s)) != NULL && hybrid__jinja_run(j, inner, n->c) != HYBRID__J_FAILED;
    default: *flow = n->kind == HYBRID__J_BREAK ? HYBRID__J_BROKEN : HYBRID__J_CONTINUED; return true;
    }
}

static hybrid__jflow hybrid__jinja_run(hybrid__jinja *j, hybrid__jscope *s, const hybrid__jnode *n)
{
    hybrid__jflow flow = HYBRID__J_NEXT;
    if (!hybrid__jinja_enter(j)) return HYBRID__J_FAILED;
    for (; n && flow == HYBRID__J_NEXT; n = n->next) {
        if (!hybrid__jarena_work(&j->arena, 1)) { hybrid__jinja_spent(j); flow = HYBRID__J_FAILED; }
        else if (!hybrid__jinja_statement(j, s, n, &flow)) flow = HYBRID__J_FAILED;
    }
    j->depth++;
    return flow;
}
