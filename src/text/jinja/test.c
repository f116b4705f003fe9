/* text/jinja/test: what follows 'is', and the functions that every template has. */
#ifndef HYB_TEXT_JINJA_TEST_C
#define HYB_TEXT_JINJA_TEST_C
#include "filter.c"

static bool hyb_jt_defined(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    HYB_UNUSED(j);
    *out = hyb_jbool((c->self.type == HYB_J_UNDEFINED) == (c->name[0] == 'u'));
    return true;
}
/* Tests of one word about the type or the value itself. */
static bool hyb_jt_kind(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jtype t = (hyb_jtype)c->self.type;
    bool yes = false;
    HYB_UNUSED(j);
    switch (hyb_jword("none boolean true false integer float number string mapping iterable sequence callable escaped",
                      c->name, strlen(c->name))) {
    case 0: yes = t == HYB_J_NONE; break;
    case 1: yes = t == HYB_J_BOOL; break;
    case 2: yes = t == HYB_J_BOOL && c->self.u.b; break;
    case 3: yes = t == HYB_J_BOOL && !c->self.u.b; break;
    case 4: yes = t == HYB_J_INT || t == HYB_J_BIG; break;
    case 5: yes = t == HYB_J_FLOAT; break;
    case 6: yes = t == HYB_J_INT || t == HYB_J_FLOAT || t == HYB_J_BIG || (t == HYB_J_BOOL && !j->js); break;
    case 7: yes = t == HYB_J_STRING; break;
    case 8: yes = t == HYB_J_DICT; break;
    case 9:
        yes = t == HYB_J_STRING || t == HYB_J_LIST || t == HYB_J_DICT || t == HYB_J_UNDEFINED || t == HYB_J_LOOP;
        break;
    case 10:
        yes = t == HYB_J_STRING || t == HYB_J_DICT || t == HYB_J_UNDEFINED ||
              (t == HYB_J_LIST && (c->self.u.list->kind < HYB_J_ITERATOR || j->js));
        break;
    case 11: yes = t == HYB_J_FUNCTION || t == HYB_J_LOOP || (t == HYB_J_UNDEFINED && !j->js); break;
    case 12: yes = hyb_jis_safe(c->self); break;
    default: break;
    }
    *out = hyb_jbool(yes);
    return true;
}
static bool hyb_jt_divisible(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue by = c->name[0] == 'd' ? c->a[0] : hyb_jint(2);
    if (c->self.type == HYB_J_BIG && c->name[0] != 'd') {
        *out = hyb_jbool((c->self.u.s->p[c->self.u.s->n - 1] & 1) == (c->name[0] == 'o'));
        return true;
    }
    if (!hyb_jinja_binary(j, HYB_J_MOD, c->self, by, out)) return false;
    *out = hyb_jbool(hyb_jis_number(*out) && hyb_jreal(*out) == (c->name[0] == 'o'));
    return true;
}
static bool hyb_jt_compare(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    static const char names[] = "eq equalto == ne != lt lessthan < le <= gt greaterthan > ge >= in";
    static const hyb_jop ops[] = { HYB_J_EQ, HYB_J_EQ, HYB_J_EQ, HYB_J_NE, HYB_J_NE, HYB_J_LT, HYB_J_LT, HYB_J_LT,
                                   HYB_J_LE, HYB_J_LE, HYB_J_GT, HYB_J_GT, HYB_J_GT, HYB_J_GE, HYB_J_GE, HYB_J_IN };
    int which = hyb_jword(names, c->name, strlen(c->name));
    *out = hyb_jbool(false);
    return hyb_jinja_compare(j, ops[which], c->self, c->a[0], &out->u.b);
}
static bool hyb_jt_sameas(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    int same = 0;
    if (c->self.type == c->a[0].type && c->self.type <= HYB_J_STRING)
        same = hyb_jequal(&j->arena, c->self, c->a[0], j->depth);
    else if (c->self.type == c->a[0].type)
        same = c->self.u.dict == c->a[0].u.dict;
    *out = hyb_jbool(same > 0);
    return same >= 0 || hyb_jinja_spent(j);
}
static bool hyb_jt_case(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    c->name = c->name[0] == 'u' ? "isupper" : "islower";
    return hyb_jinja_to_string(j, c->self, &c->self) && hyb_jm_is_case(j, c, out);
}
static bool hyb_jt_known(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out);

/* clang-format off */
static const hyb_jbuiltin hyb_jtests[] = {
    { "defined", "", 0, hyb_jt_defined }, { "undefined", "", 0, hyb_jt_defined },
    { "none", "", 0, hyb_jt_kind }, { "boolean", "", 0, hyb_jt_kind }, { "true", "", 0, hyb_jt_kind },
    { "false", "", 0, hyb_jt_kind },
    { "integer", "", 0, hyb_jt_kind }, { "float", "", 0, hyb_jt_kind }, { "number", "", 0, hyb_jt_kind },
    { "string", "", 0, hyb_jt_kind },
    { "mapping", "", 0, hyb_jt_kind }, { "iterable", "", 0, hyb_jt_kind }, { "sequence", "", 0, hyb_jt_kind },
    { "callable", "", 0, hyb_jt_kind }, { "escaped", "", 0, hyb_jt_kind },
    { "odd", "", 0, hyb_jt_divisible }, { "even", "", 0, hyb_jt_divisible },
    { "divisibleby", "num", 1, hyb_jt_divisible },
    { "eq", "other", 1, hyb_jt_compare }, { "equalto", "other", 1, hyb_jt_compare },
    { "==", "other", 1, hyb_jt_compare },
    { "ne", "other", 1, hyb_jt_compare }, { "!=", "other", 1, hyb_jt_compare },
    { "lt", "other", 1, hyb_jt_compare }, { "lessthan", "other", 1, hyb_jt_compare },
    { "<", "other", 1, hyb_jt_compare },
    { "le", "other", 1, hyb_jt_compare }, { "<=", "other", 1, hyb_jt_compare },
    { "gt", "other", 1, hyb_jt_compare }, { "greaterthan", "other", 1, hyb_jt_compare },
    { ">", "other", 1, hyb_jt_compare },
    { "ge", "other", 1, hyb_jt_compare }, { ">=", "other", 1, hyb_jt_compare }, { "in", "seq", 1, hyb_jt_compare },
    { "sameas", "other", 1, hyb_jt_sameas }, { "lower", "", 0, hyb_jt_case }, { "upper", "", 0, hyb_jt_case },
    { "filter", "", 0, hyb_jt_known }, { "test", "", 0, hyb_jt_known }
};
/* clang-format on */

/* 'tojson' is filter, 'odd' is test */
static bool hyb_jt_known(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jstring *s;
    *out = hyb_jbool(false);
    if (c->self.type != HYB_J_STRING) return hyb_jinja_key(j, c->self);
    s = c->self.u.s;
    *out = hyb_jbool(c->name[0] == 'f' ? hyb_jbuiltin_find(hyb_jfilters, HYB_COUNT(hyb_jfilters), s->p, s->n) != NULL
                                       : hyb_jbuiltin_find(hyb_jtests, HYB_COUNT(hyb_jtests), s->p, s->n) != NULL);
    return true;
}

static bool hyb_jinja_test(hyb_jinja *j, const hyb_jstring *name, hyb_jvalue v, const hyb_jargs *args, bool *out)
{
    const hyb_jbuiltin *f = hyb_jbuiltin_find(hyb_jtests, HYB_COUNT(hyb_jtests), name->p, name->n);
    hyb_jvalue yes;
    if (!f)
        return hyb_jinja_fail(j, HYBRID_ERROR_UNSUPPORTED, "there is no test '%.*s'", (int)HYB_MIN(name->n, (size_t)60),
                              name->p);
    if (!hyb_jbuiltin_call(j, f, v, args, &yes)) return false;
    *out = yes.u.b;
    return true;
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

static bool hyb_jg_range(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    bool two = c->a[1].type != HYB_J_MISSING;
    int64_t start = 0, stop, step, i;
    for (i = 0; i < 3; i++)
        if (c->a[i].type != HYB_J_MISSING && !hyb_jis_whole(c->a[i]))
            return c->a[i].type == HYB_J_UNDEFINED
                       ? hyb_jinja_undefined(j, c->a[i])
                       : hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "range expects integers, not a %s",
                                        hyb_jtype_name(c->a[i]));
    stop = hyb_jwhole(c->a[two ? 1 : 0]);
    if (two) start = hyb_jwhole(c->a[0]);
    step = c->a[2].type == HYB_J_MISSING ? 1 : hyb_jwhole(c->a[2]);
    if (!step) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "range: the step is zero");
    return hyb_jinja_range(j, start, stop, step, out);
}

/* dict(...) and namespace(...): a dict or pairs, then members by name. */
static bool hyb_jg_dict(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue key = hyb_jnone();
    hyb_jlist *items, *pair;
    size_t i;
    if (c->args->n > 1)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s takes at most one value without a name", c->name);
    if (!hyb_jinja_check(j, hyb_jdict_new(&j->arena, out))) return false;
    if (c->args->n && c->args->v[0].type == HYB_J_DICT) {
        const hyb_jdict *d = c->args->v[0].u.dict;
        for (i = 0; i < d->n; i++)
            if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, d->entries[i].key, d->entries[i].value)))
                return false;
    } else if (c->args->n) {
        if (!hyb_jinja_items(j, c->args->v[0], &items)) return false;
        for (i = 0; i < items->n; i++) {
            if (!hyb_jinja_items(j, items->items[i], &pair)) return false;
            if (pair->n != 2) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s expects pairs", c->name);
            if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, pair->items[0], pair->items[1])))
                return false;
        }
    }
    key.type = HYB_J_STRING;
    for (i = 0; i < c->args->n_named; i++) {
        key.u.s = c->args->names[i];
        if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, key, c->args->named[i]))) return false;
    }
    if (c->name[0] == 'n') out->type = HYB_J_NAMESPACE;
    return true;
}

static bool hyb_jg_raise(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue s;
    size_t n;
    if (!hyb_jinja_to_string(j, c->a[0], &s)) return false;
    n = HYB_MIN(s.u.s->n, (size_t)150);
    while (n && n < s.u.s->n && ((unsigned char)s.u.s->p[n] & 0xC0) == 0x80) n--;
    *out = hyb_jnone();
    return hyb_jinja_fail(j, HYBRID_ERROR_INVALID, "the template refuses this input: %.*s", (int)n, s.u.s->p);
}
static bool hyb_jg_strftime(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jstring *format;
    return hyb_jinja_want_string(j, c->name, c->a[0], &format) &&
           hyb_jinja_strftime(j, &b, format->p, format->p + format->n) && hyb_jinja_text(j, &b, out);
}

static const hyb_jbuiltin hyb_jglobals[] = { { "range", "/start stop step", 1, hyb_jg_range },
                                             { "dict", "*", 0, hyb_jg_dict },
                                             { "namespace", "*", 0, hyb_jg_dict },
                                             { "raise_exception", "message", 1, hyb_jg_raise },
                                             { "strftime_now", "format", 1, hyb_jg_strftime } };
#endif
