/* text/jinja/filters/member: the member that attribute= names, and what values are compared by. */
#ifndef HYB_TEXT_JINJA_FILTERS_MEMBER_C
#define HYB_TEXT_JINJA_FILTERS_MEMBER_C
#include "../ops.c"

/* What map, select, reversed and their like give: an iterator in Python, a list in huggingface.js. */
HYB_INLINE hyb_jlist_kind hyb_jlazy(const hyb_jinja *j) { return j->js ? HYB_J_PLAIN : HYB_J_ITERATOR; }

/* The member that attribute= names: an index, a name, or names and indices separated by dots. */
static bool hyb_jinja_path(hyb_jinja *j, hyb_jvalue v, hyb_jvalue path, hyb_jvalue *out)
{
    const char *p, *end, *q;
    if (path.type != HYB_J_STRING) return hyb_jinja_item(j, v, path, out);
    *out = v;
    for (p = path.u.s->p, end = p + path.u.s->n;; p = q + 1) {
        hyb_jvalue key;
        bool number;
        int64_t index = 0;
        const char *d;
        for (q = p; q < end && *q != '.'; q++) {}
        number = q > p && q - p < 10;
        for (d = p; d < q; d++) {
            number = number && hyb_is_digit(*d);
            if (number) index = index * 10 + (*d - '0');
        }
        if (!hyb_jinja_view(j, p, (size_t)(q - p), &key)) return false;
        if (number) key = hyb_jint(index);
        if (!hyb_jinja_item(j, *out, key, out)) return false;
        if (q == end) return true;
    }
}

/* What a value is compared by: its member, in lower case unless case matters. */
static bool hyb_jinja_sort_key(hyb_jinja *j, hyb_jvalue v, hyb_jvalue attribute, bool exact, hyb_jvalue *key)
{
    *key = v;
    if (attribute.type != HYB_J_MISSING && attribute.type != HYB_J_NONE && !hyb_jinja_path(j, v, attribute, key))
        return false;
    return exact || key->type != HYB_J_STRING || hyb_jinja_casing(j, key->u.s, HYB_J_LOWER, key);
}
#endif
