/* text/jinja_test: what stands behind 'is', and the functions that every template has. */

static bool hybrid__jt_defined(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    HYBRID__UNUSED(j);
    *out = hybrid__jbool((c->self.type == HYBRID__J_UNDEFINED) == (c->name[0] == 'u'));
    return true;
}
/* Tests of one word about the type or the value itself. */
static bool hybrid__jt_kind(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jtype t = (hybrid__jtype)c->self.type;
    bool yes = false;
    HYBRID__UNUSED(j);
    switch (hybrid__jword("none boolean true false integer float number string mapping iterable sequence callable escaped", c->name, strlen(c->name))) {
    case 0: yes = t == HYBRID__J_NONE; break;
    case 1: yes = t == HYBRID__J_BOOL; break;
    case 2: yes = t == HYBRID__J_BOOL && c->self.u.b; break;
    case 3: yes = t == HYBRID__J_BOOL && !c->self.u.b; break;
    case 4: yes = t == HYBRID__J_INT || t == HYBRID__J_BIG; break;
    case 5: yes = t == HYBRID__J_FLOAT; break;
    case 6: yes = t == HYBRID__J_INT || t == HYBRID__J_FLOAT || t == HYBRID__J_BIG || (t == HYBRID__J_BOOL && !j->js); break;
    case 7: yes = t == HYBRID__J_STRING; break;
    case 8: yes = t == HYBRID__J_DICT; break;
    case 9: yes = t == HYBRID__J_STRING || t == HYBRID__J_LIST || t == HYBRID__J_DICT || t == HYBRID__J_UNDEFINED || t == HYBRID__J_LOOP; break;
    case 10: yes = t == HYBRID__J_STRING || t == HYBRID__J_DICT || t == HYBRID__J_UNDEFINED || (t == HYBRID__J_LIST && (c->self.u.list->kind < HYBRID__J_ITERATOR || j->js)); break;
    case 11: yes = t == HYBRID__J_FUNCTION || t == HYBRID__J_LOOP || (t == HYBRID__J_UNDEFINED && !j->js); break;
    case 12: yes = hybrid__jis_safe(c->self); break;
    default: break;
    }
    *out = hybrid__jbool(yes);
    return true;
}
static bool hybrid__jt_divisible(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue by = c->name[0] == 'd' ? c->a[0] : hybrid__jint(2);
    if (c->self.type == HYBRID__J_BIG && c->name[0] != 'd') {
        *out = hybrid__jbool((c->self.u.s->p[c->self.u.s->n - 1] & 1) == (c->name[0] == 'o'));
        return true;
    }
    if (!hybrid__jinja_binary(j, HYBRID__J_MOD, c->self, by, out)) return false;
    *out = hybrid__jbool(hybrid__jis_number(*out) && hybrid__jreal(*out) == (c->name[0] == 'o'));
    return true;
}
static bool hybrid__jt_compare(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    static const char names[] = "eq equalto == ne != lt lessthan < le <= gt greaterthan > ge >= in";
    static const hybrid__jop ops[] = { HYBRID__J_EQ, HYBRID__J_EQ, HYBRID__J_EQ, HYBRID__J_NE, HYBRID__J_NE, HYBRID__J_LT, HYBRID__J_LT, HYBRID__J_LT,
        HYBRID__J_LE, HYBRID__J_LE, HYBRID__J_GT, HYBRID__J_GT, HYBRID__J_GT, HYBRID__J_GE, HYBRID__J_GE, HYBRID__J_IN };
    int which = hybrid__jword(names, c->name, strlen(c->name));
    *out = hybrid__jbool(false);
    return hybrid__jinja_compare(j, ops[which], c->self, c->a[0], &out->u.b);
}
static bool hybrid__jt_sameas(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    int same = 0;
    if (c->self.type == c->a[0].type && c->self.type <= HYBRID__J_STRING) same = hybrid__jequal(&j->arena, c->self, c->a[0], j->depth);
    else if (c->self.type == c->a[0].type) same = c->self.u.dict == c->a[0].u.dict;
    *out = hybrid__jbool(same > 0);
    return same >= 0 || hybrid__jinja_spent(j);
}
static bool hybrid__jt_case(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    c->name = c->name[0] == 'u' ? "isupper" : "islower";
    return hybrid__jinja_to_string(j, c->self, &c->self) && hybrid__jm_is_case(j, c, out);
}
static bool hybrid__jt_known(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out);

static const hybrid__jbuiltin hybrid__jtests[] = {
    { "defined", "", 0, hybrid__jt_defined }, { "undefined", "", 0, hybrid__jt_defined },
    { "none", "", 0, hybrid__jt_kind }, { "boolean", "", 0, hybrid__jt_kind }, { "true", "", 0, hybrid__jt_kind }, { "false", "", 0, hybrid__jt_kind },
    { "integer", "", 0, hybrid__jt_kind }, { "float", "", 0, hybrid__jt_kind }, { "number", "", 0, hybrid__jt_kind }, { "string", "", 0, hybrid__jt_kind },
    { "mapping", "", 0, hybrid__jt_kind }, { "iterable", "", 0, hybrid__jt_kind }, { "sequence", "", 0, hybrid__jt_kind },
    { "callable", "", 0, hybrid__jt_kind }, { "escaped", "", 0, hybrid__jt_kind },
    { "odd", "", 0, hybrid__jt_divisible }, { "even", "", 0, hybrid__jt_divisible }, { "divisibleby", "num", 1, hybrid__jt_divisible },
    { "eq", "other", 1, hybrid__jt_compare }, { "equalto", "other", 1, hybrid__jt_compare }, { "==", "other", 1, hybrid__jt_compare },
    { "ne", "other", 1, hybrid__jt_compare }, { "!=", "other", 1, hybrid__jt_compare },
    { "lt", "other", 1, hybrid__jt_compare }, { "lessthan", "other", 1, hybrid__jt_compare }, { "<", "other", 1, hybrid__jt_compare },
    { "le", "other", 1, hybrid__jt_compare }, { "<=", "other", 1, hybrid__jt_compare },
    { "gt", "other", 1, hybrid__jt_compare }, { "greaterthan", "other", 1, hybrid__jt_compare }, { ">", "other", 1, hybrid__jt_compare },
    { "ge", "other", 1, hybrid__jt_compare }, { ">=", "other", 1, hybrid__jt_compare }, { "in", "seq", 1, hybrid__jt_compare },
    { "sameas", "other", 1, hybrid__jt_sameas }, { "lower", "", 0, hybrid__jt_case }, { "upper", "", 0, hybrid__jt_case },
    { "filter", "", 0, hybrid__jt_known }, { "test", "", 0, hybrid__jt_known }
};

/* 'tojson' is filter, 'odd' is test */
static bool hybrid__jt_known(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jstring *s;
    *out = hybrid__jbool(false);
    if (c->self.type != HYBRID__J_STRING) return hybrid__jinja_key(j, c->self);
    s = c->self.u.s;
    *out = hybrid__jbool(c->name[0] == 'f' ? hybrid__jbuiltin_find(hybrid__jfilters, HYBRID__COUNT(hybrid__jfilters), s->p, s->n) != NULL
        : hybrid__jbuiltin_find(hybrid__jtests, HYBRID__COUNT(hybrid__jtests), s->p, s->n) != NULL);
    return true;
}

static bool hybrid__jinja_test(hybrid__jinja *j, const hybrid__jstring *name, hybrid__jvalue v, const hybrid__jargs *args, bool *out)
{
    const hybrid__jbuiltin *f = hybrid__jbuiltin_find(hybrid__jtests, HYBRID__COUNT(hybrid__jtests), name->p, name->n);
    hybrid__jvalue yes;
    if (!f) return hybrid__jinja_fail(j, HYBRID_ERROR_UNSUPPORTED, "there is no test '%.*s'", (int)HYBRID__MIN(name->n, (size_t)60), name->p);
    if (!hybrid__jbuiltin_call(j, f, v, args, &yes)) return false;
    *out = yes.u.b;
    return true;
}

/* ---- functions ---- */

static bool hybrid__jg_range(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    bool two = c->a[1].type != HYBRID__J_MISSING;
    int64_t start = 0, stop, step, i;
    for (i = 0; i < 3; i++)
        if (c->a[i].type != HYBRID__J_MISSING && !hybrid__jis_whole(c->a[i]))
            return c->a[i].type == HYBRID__J_UNDEFINED ? hybrid__jinja_undefined(j, c->a[i])
                : hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "range expects integers, not a %s", hybrid__jtype_name(c->a[i]));
    stop = hybrid__jwhole(c->a[two ? 1 : 0]);
    if (two) start = hybrid__jwhole(c->a[0]);
    step = c->a[2].type == HYBRID__J_MISSING ? 1 : hybrid__jwhole(c->a[2]);
    if (!step) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "range: the step is zero");
    return hybrid__jinja_range(j, start, stop, step, out);
}

/* dict(...) and namespace(...): a dict or pairs, then members by name. */
static bool hybrid__jg_dict(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue key = hybrid__jnone();
    hybrid__jlist *items, *pair;
    size_t i;
    if (c->args->n > 1) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes at most one value without a name", c->name);
    if (!hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, out))) return false;
    if (c->args->n && c->args->v[0].type == HYBRID__J_DICT) {
        const hybrid__jdict *d = c->args->v[0].u.dict;
        for (i = 0; i < d->n; i++) if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, d->entries[i].key, d->entries[i].value))) return false;
    } else if (c->args->n) {
        if (!hybrid__jinja_items(j, c->args->v[0], &items)) return false;
        for (i = 0; i < items->n; i++) {
            if (!hybrid__jinja_items(j, items->items[i], &pair)) return false;
            if (pair->n != 2) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects pairs", c->name);
            if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, pair->items[0], pair->items[1]))) return false;
        }
    }
    key.type = HYBRID__J_STRING;
    for (i = 0; i < c->args->n_named; i++) {
        key.u.s = c->args->names[i];
        if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, key, c->args->named[i]))) return false;
    }
    if (c->name[0] == 'n') out->type = HYBRID__J_NAMESPACE;
    return true;
}

static bool hybrid__jg_raise(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue s;
    size_t n;
    if (!hybrid__jinja_to_string(j, c->a[0], &s)) return false;
    n = HYBRID__MIN(s.u.s->n, (size_t)150);
    while (n && n < s.u.s->n && ((unsigned char)s.u.s->p[n] & 0xC0) == 0x80) n--;
    *out = hybrid__jnone();
    return hybrid__jinja_fail(j, HYBRID_ERROR_INVALID, "the template refuses this input: %.*s", (int)n, s.u.s->p);
}
static bool hybrid__jg_strftime(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jstring *format;
    return hybrid__jinja_want_string(j, c->name, c->a[0], &format) && hybrid__jinja_strftime(j, &b, format->p, format->p + format->n) && hybrid__jinja_text(j, &b, out);
}

static const hybrid__jbuiltin hybrid__jglobals[] = {
    { "range", "/start stop step", 1, hybrid__jg_range }, { "dict", "*", 0, hybrid__jg_dict }, { "namespace", "*", 0, hybrid__jg_dict },
    { "raise_exception", "message", 1, hybrid__jg_raise }, { "strftime_now", "format", 1, hybrid__jg_strftime }
};
