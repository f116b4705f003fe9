/* text/jinja/filter: the table of what stands after '|', and the filters that take the name of another one. */
#ifndef HYB_TEXT_JINJA_FILTER_C
#define HYB_TEXT_JINJA_FILTER_C
#include "filters/text.c"
#include "filters/number.c"
#include "filters/pprint.c"
#include "filters/value.c"
#include "filters/sequence.c"

static bool hyb_jinja_filter(hyb_jinja *j, const hyb_jstring *name, hyb_jvalue v, const hyb_jargs *args,
                             hyb_jvalue *out);
static bool hyb_jinja_test(hyb_jinja *j, const hyb_jstring *name, hyb_jvalue v, const hyb_jargs *args, bool *out);

static hyb_jargs hyb_jargs_from(const hyb_jargs *args, size_t from)
{
    hyb_jargs rest = *args;
    if (from) rest.v += from;
    rest.n -= from;
    return rest;
}

static bool hyb_jf_map(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue attribute = hyb_jnone(), missing = hyb_jnone(), v;
    hyb_jstring *name = NULL;
    hyb_jargs rest = *c->args;
    hyb_jlist *items;
    size_t i;
    attribute.type = missing.type = HYB_J_MISSING;
    for (i = 0; i < c->args->n_named; i++) {
        if (hyb_jstring_is(c->args->names[i], "attribute")) attribute = c->args->named[i];
        if (hyb_jstring_is(c->args->names[i], "default")) missing = c->args->named[i];
    }
    if (c->args->n) {
        if (!hyb_jinja_want_string(j, c->name, c->args->v[0], &name)) return false;
        rest = hyb_jargs_from(c->args, 1);
    } else if (attribute.type == HYB_J_MISSING) {
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "map needs the name of a filter, or attribute=");
    }
    if (!hyb_jtruth(c->self)) return hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out); /* None, 0: not even looked at */
    if (!hyb_jinja_items(j, c->self, &items) || !hyb_jinja_new_list(j, items->n, HYB_J_PLAIN, out)) return false;
    for (i = 0; i < items->n; i++) {
        if (name ? !hyb_jinja_filter(j, name, items->items[i], &rest, &v)
                 : !hyb_jinja_path(j, items->items[i], attribute, &v))
            return false;
        if (!name && v.type == HYB_J_UNDEFINED && missing.type != HYB_J_MISSING) v = missing;
        if (!hyb_jinja_push(j, *out, v)) return false;
    }
    return true;
}

/* select, reject, selectattr, rejectattr */
static bool hyb_jf_select(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    bool by_attribute = strlen(c->name) > 6, keep = c->name[0] == 's', yes;
    size_t at = by_attribute ? 1 : 0, i;
    hyb_jstring *name = NULL;
    hyb_jargs rest;
    hyb_jlist *items;
    if (c->args->n < at) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s needs the name of an attribute", c->name);
    rest = hyb_jargs_from(c->args, at);
    if (rest.n) {
        if (!hyb_jinja_want_string(j, c->name, rest.v[0], &name)) return false;
        rest = hyb_jargs_from(&rest, 1);
    }
    if (!hyb_jtruth(c->self)) return hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out);
    if (!hyb_jinja_items(j, c->self, &items) || !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out)) return false;
    for (i = 0; i < items->n; i++) {
        hyb_jvalue v = items->items[i];
        if (by_attribute && !hyb_jinja_path(j, v, c->args->v[0], &v)) return false;
        yes = hyb_jtruth(v);
        if (name && !hyb_jinja_test(j, name, v, &rest, &yes)) return false;
        if (yes == keep && !hyb_jinja_push(j, *out, items->items[i])) return false;
    }
    return true;
}

/* Filters that are generators in Python: nothing is computed, nor wrong, before somebody looks. */
/* clang-format off */
static const hyb_jbuiltin hyb_jgenerators[] = {
    { "map", "*", 0, hyb_jf_map }, { "select", "*", 0, hyb_jf_select }, { "reject", "*", 0, hyb_jf_select },
    { "selectattr", "*", 0, hyb_jf_select }, { "rejectattr", "*", 0, hyb_jf_select }, { "items", "", 0, hyb_jf_items },
    { "unique", "case_sensitive attribute", 0, hyb_jf_unique }, { "batch", "linecount fill_with", 1, hyb_jf_batch },
    { "slice", "slices fill_with", 1, hyb_jf_batch }
};
/* clang-format on */
static bool hyb_jf_generator(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    static const char *const labels[] = {
        "generator object sync_do_map", "generator object select_or_reject", "generator object select_or_reject",
        "generator object select_or_reject", "generator object select_or_reject", "generator object do_items",
        "generator object sync_do_unique", "generator object do_batch", "generator object sync_do_slice"
    };
    const hyb_jbuiltin *f = hyb_jbuiltin_find(hyb_jgenerators, HYB_COUNT(hyb_jgenerators), c->name, strlen(c->name));
    return hyb_jinja_later(j, f, c, labels[f - hyb_jgenerators], out);
}

/* clang-format off */
static const hyb_jbuiltin hyb_jfilters[] = {
    { "abs", "", 0, hyb_jf_abs }, { "attr", "name", 1, hyb_jf_attr },
    { "batch", "linecount fill_with", 1, hyb_jf_generator },
    { "capitalize", "", 0, hyb_jf_case }, { "center", "width", 0, hyb_jf_center }, { "count", "", 0, hyb_jf_length },
    { "d", "default_value boolean", 0, hyb_jf_default }, { "default", "default_value boolean", 0, hyb_jf_default },
    { "dictsort", "case_sensitive by reverse", 0, hyb_jf_dictsort }, { "e", "", 0, hyb_jf_escape },
    { "escape", "", 0, hyb_jf_escape },
    { "first", "", 0, hyb_jf_first }, { "float", "default", 0, hyb_jf_float }, { "forceescape", "", 0, hyb_jf_escape },
    { "format", "*", 0, hyb_jf_format }, { "groupby", "attribute default case_sensitive", 1, hyb_jf_groupby },
    { "indent", "width first blank", 0, hyb_jf_indent }, { "int", "default base", 0, hyb_jf_int },
    { "items", "", 0, hyb_jf_generator },
    { "join", "d attribute", 0, hyb_jf_join }, { "last", "", 0, hyb_jf_first }, { "length", "", 0, hyb_jf_length },
    { "list", "", 0, hyb_jf_list }, { "lower", "", 0, hyb_jf_case }, { "map", "*", 0, hyb_jf_generator },
    { "max", "case_sensitive attribute", 0, hyb_jf_minmax }, { "min", "case_sensitive attribute", 0, hyb_jf_minmax },
    { "pprint", "", 0, hyb_jf_pprint }, { "reject", "*", 0, hyb_jf_generator },
    { "rejectattr", "*", 0, hyb_jf_generator },
    { "replace", "old new count", 2, hyb_jf_replace }, { "reverse", "", 0, hyb_jf_reverse },
    { "round", "precision method", 0, hyb_jf_round },
    { "safe", "", 0, hyb_jf_safe }, { "select", "*", 0, hyb_jf_generator }, { "selectattr", "*", 0, hyb_jf_generator },
    { "slice", "slices fill_with", 1, hyb_jf_generator },
    { "sort", "reverse case_sensitive attribute", 0, hyb_jf_sort },
    { "string", "", 0, hyb_jf_string }, { "sum", "attribute start", 0, hyb_jf_sum }, { "title", "", 0, hyb_jf_title },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, hyb_jf_tojson }, { "trim", "chars", 0, hyb_jf_trim },
    { "truncate", "length killwords end leeway", 0, hyb_jf_truncate },
    { "unique", "case_sensitive attribute", 0, hyb_jf_generator },
    { "upper", "", 0, hyb_jf_case }, { "urlencode", "", 0, hyb_jf_urlencode }, { "wordcount", "", 0, hyb_jf_wordcount }
};
/* clang-format on */

static bool hyb_jinja_filter(hyb_jinja *j, const hyb_jstring *name, hyb_jvalue v, const hyb_jargs *args,
                             hyb_jvalue *out)
{
    const hyb_jbuiltin *f = hyb_jbuiltin_find(hyb_jfilters, HYB_COUNT(hyb_jfilters), name->p, name->n);
    bool ok;
    if (!f)
        return hyb_jinja_fail(j, HYBRID_ERROR_UNSUPPORTED, "there is no filter '%.*s'",
                              (int)HYB_MIN(name->n, (size_t)60), name->p);
    if (!hyb_jinja_enter(j)) return false; /* map('map', ...) */
    ok = hyb_jbuiltin_call(j, f, v, args, out);
    j->depth++;
    return ok;
}
#endif
