/* text/jinja/filters/sequence: filters of lists and dicts: sort, unique, groupby, batch and their like. */
#ifndef HYB_TEXT_JINJA_FILTERS_SEQUENCE_C
#define HYB_TEXT_JINJA_FILTERS_SEQUENCE_C
#include "member.c"

static bool hyb_jf_list(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    return hyb_jinja_items(j, c->self, &items) &&
           (hyb_jlist_view(&j->arena, items, 0, items->n, HYB_J_PLAIN, out) || hyb_jinja_spent(j));
}
static bool hyb_jf_first(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    bool iterator = c->self.type == HYB_J_LIST && c->self.u.list->kind == HYB_J_ITERATOR;
    if (iterator && c->name[0] == 'l') return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a generator has no last value");
    if (iterator) { /* takes one, the others stay */
        items = c->self.u.list;
        if (!hyb_jinja_wake(j, items)) return false;
        *out = hyb_jundefined(NULL, false);
        if (!items->n) return true;
        *out = *items->items++;
        items->n--;
        items->capacity = items->n;
        return true;
    }
    if (!hyb_jinja_items(j, c->self, &items)) return false;
    *out = items->n ? items->items[c->name[0] == 'f' ? 0 : items->n - 1] : hyb_jundefined(NULL, false);
    return true;
}
static bool hyb_jf_reverse(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue none = hyb_jnone();
    const char *label = "reversed object";
    bool iterator = c->self.type == HYB_J_LIST && c->self.u.list->kind == HYB_J_ITERATOR;
    if (c->self.type == HYB_J_STRING) return hyb_jinja_slice(j, c->self, none, none, hyb_jint(-1), false, out);
    if (c->self.type == HYB_J_DICT) label = "dict_reversekeyiterator object";
    if (c->self.type == HYB_J_LIST) {
        static const char *const labels[] = { "list_reverseiterator object", "reversed object", "range_iterator object",
                                              "", "" };
        label = c->self.u.list->kind != HYB_J_VIEW             ? labels[c->self.u.list->kind]
                : !strcmp(c->self.u.list->label, "dict_keys")  ? "dict_reversekeyiterator object"
                : !strcmp(c->self.u.list->label, "dict_items") ? "dict_reverseitemiterator object"
                                                               : "dict_reversevalueiterator object";
    }
    if (!hyb_jf_list(j, c, out) || !hyb_jinja_slice(j, *out, none, none, hyb_jint(-1), false, out)) return false;
    out->u.list->kind = iterator ? HYB_J_PLAIN : hyb_jlazy(j); /* what cannot be walked backwards becomes a list */
    out->u.list->label = iterator ? NULL : label;
    return true;
}
static bool hyb_jf_items(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (c->self.type == HYB_J_UNDEFINED) return hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out);
    if (c->self.type != HYB_J_DICT)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "items expects a dict, not a %s", hyb_jtype_name(c->self));
    return hyb_jinja_dict_view(j, c->self.u.dict, 'i', HYB_J_PLAIN, out);
}
static bool hyb_jf_join(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jlist *items;
    size_t i;
    if (!hyb_jinja_items(j, c->self, &items)) return false;
    for (i = 0; i < items->n; i++) {
        hyb_jvalue v;
        if (!hyb_jinja_sort_key(j, items->items[i], c->a[1], true, &v)) return false;
        if (i && c->a[0].type != HYB_J_MISSING && !hyb_jinja_str(j, &b, c->a[0])) return false;
        if (!hyb_jinja_str(j, &b, v)) return false;
    }
    return hyb_jinja_text(j, &b, out);
}

/* A sorted copy of items by their keys. */
static bool hyb_jinja_sorted(hyb_jinja *j, const hyb_jlist *items, hyb_jvalue attribute, bool exact, bool reverse,
                             hyb_jvalue *out)
{
    hyb_jvalue keys;
    size_t i;
    if (!hyb_jinja_new_list(j, items->n, HYB_J_PLAIN, out) || !hyb_jinja_new_list(j, items->n, HYB_J_PLAIN, &keys))
        return false;
    for (i = 0; i < items->n; i++) {
        hyb_jvalue key;
        if (!hyb_jinja_push(j, *out, items->items[i]) ||
            !hyb_jinja_sort_key(j, items->items[i], attribute, exact, &key) || !hyb_jinja_push(j, keys, key))
            return false;
    }
    return hyb_jinja_sort(j, out->u.list->items, keys.u.list->items, items->n, reverse);
}
static bool hyb_jf_sort(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    return hyb_jinja_items(j, c->self, &items) &&
           hyb_jinja_sorted(j, items, c->a[2], hyb_jflag(c->a[1], false), hyb_jflag(c->a[0], false), out);
}
static bool hyb_jf_dictsort(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue pairs;
    size_t i;
    bool by_value = c->a[1].type == HYB_J_STRING && hyb_jstring_is(c->a[1].u.s, "value");
    if (c->self.type != HYB_J_DICT)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "dictsort expects a dict, not a %s", hyb_jtype_name(c->self));
    for (i = 0; i < c->self.u.dict->n && c->self.u.dict->n > 1; i++) {
        const hyb_jentry *e = &c->self.u.dict->entries[i];
        if (!hyb_jinja_has_order(j, by_value ? e->value : e->key)) return false;
    }
    return hyb_jinja_dict_view(j, c->self.u.dict, 'i', HYB_J_PLAIN, &pairs) &&
           hyb_jinja_sorted(j, pairs.u.list, hyb_jint(by_value), hyb_jflag(c->a[0], false), hyb_jflag(c->a[2], false),
                            out);
}
static bool hyb_jf_minmax(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    hyb_jvalue best = hyb_jnone(), key;
    size_t i;
    int order;
    if (!hyb_jinja_items(j, c->self, &items)) return false;
    *out = hyb_jundefined(NULL, false);
    for (i = 0; i < items->n; i++) {
        if (!hyb_jinja_sort_key(j, items->items[i], c->a[1], hyb_jflag(c->a[0], false), &key)) return false;
        if (items->n > 1 && !hyb_jinja_has_order(j, key)) return false;
        if (i && (!hyb_jinja_order(j, key, best, &order) || (c->name[1] == 'i' ? order >= 0 : order <= 0))) {
            if (j->result) return false;
            continue;
        }
        best = key;
        *out = items->items[i];
    }
    return true;
}
static bool hyb_jf_unique(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    hyb_jvalue seen, key;
    size_t i;
    if (!hyb_jinja_items(j, c->self, &items) || !hyb_jinja_check(j, hyb_jdict_new(&j->arena, &seen)) ||
        !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out))
        return false;
    for (i = 0; i < items->n; i++) {
        uint32_t before = seen.u.dict->n;
        if (!hyb_jinja_sort_key(j, items->items[i], c->a[1], hyb_jflag(c->a[0], false), &key) ||
            !hyb_jinja_check(j, hyb_jdict_set(&j->arena, seen.u.dict, key, key)))
            return false;
        if (seen.u.dict->n > before && !hyb_jinja_push(j, *out, items->items[i])) return false;
    }
    return true;
}
static bool hyb_jf_groupby(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    hyb_jvalue sorted, key, last = hyb_jnone(), group = hyb_jnone(), pair;
    bool exact = hyb_jflag(c->a[2], false);
    size_t i;
    if (!hyb_jinja_items(j, c->self, &items) || !hyb_jinja_sorted(j, items, c->a[0], exact, false, &sorted) ||
        !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out))
        return false;
    for (i = 0; i < sorted.u.list->n; i++) {
        int same = 0;
        if (!hyb_jinja_sort_key(j, sorted.u.list->items[i], c->a[0], exact, &key)) return false;
        if (sorted.u.list->n > 1 && !hyb_jinja_has_order(j, key)) return false;
        if (i && (same = hyb_jequal(&j->arena, key, last, j->depth)) < 0) return hyb_jinja_spent(j);
        if (!same) {
            hyb_jvalue shown;
            if (!hyb_jinja_sort_key(j, sorted.u.list->items[i], c->a[0], true, &shown) ||
                !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, &group) || !hyb_jinja_pair(j, shown, group, &pair) ||
                !hyb_jinja_push(j, *out, pair))
                return false;
        }
        last = key;
        if (!hyb_jinja_push(j, group, sorted.u.list->items[i])) return false;
    }
    return true;
}

/* batch: rows of n; slice: n columns as even as can be. */
static bool hyb_jf_batch(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    hyb_jvalue row;
    bool slice = c->name[0] == 's', fill = c->a[1].type != HYB_J_MISSING && c->a[1].type != HYB_J_NONE;
    int64_t n;
    size_t i, k, rows, width, extra, at = 0;
    if (!hyb_jinja_items(j, c->self, &items) || !hyb_jinja_want_int(j, c->name, c->a[0], 0, &n) ||
        !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out))
        return false;
    if (n < 1 || n > INT32_MAX)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the number must be positive", c->name);
    rows = slice ? (size_t)n : (items->n + (size_t)n - 1) / (size_t)n;
    width = slice ? items->n / (size_t)n : (size_t)n;
    extra = slice ? items->n % (size_t)n : 0;
    for (i = 0; i < rows; i++) {
        size_t take = HYB_MIN(width + (i < extra), items->n - at);
        if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, &row)) return false;
        for (k = 0; k < take; k++)
            if (!hyb_jinja_push(j, row, items->items[at + k])) return false;
        at += take;
        if (fill && (slice ? i >= extra : take < width))
            for (k = take; k < (slice ? width + 1 : width); k++)
                if (!hyb_jinja_push(j, row, c->a[1])) return false;
        if (!hyb_jinja_push(j, *out, row)) return false;
    }
    return true;
}
#endif
