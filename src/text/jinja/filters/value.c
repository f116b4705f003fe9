/* text/jinja/filters/value: filters of any value: default, safe, attr, length. */
#ifndef HYB_TEXT_JINJA_FILTERS_VALUE_C
#define HYB_TEXT_JINJA_FILTERS_VALUE_C
#include "../ops.c"

static bool hyb_jf_default(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    bool replace = c->self.type == HYB_J_UNDEFINED || (hyb_jflag(c->a[1], false) && !hyb_jtruth(c->self));
    *out = c->self;
    if (!replace) return true;
    *out = c->a[0];
    return c->a[0].type != HYB_J_MISSING || hyb_jinja_view(j, "", 0, out);
}
static bool hyb_jf_safe(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (!hyb_jinja_to_string(j, c->self, out)) return false;
    out->mark = !j->js;
    return true;
}

static bool hyb_jf_attr(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jstring *name;
    const hyb_jbuiltin *f;
    if (!hyb_jinja_want_string(j, c->name, c->a[0], &name)) return false;
    if (c->self.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, c->self);
    if (c->self.type == HYB_J_NAMESPACE || c->self.type == HYB_J_LOOP)
        return hyb_jinja_attribute(j, c->self, name, out);
    if ((f = hyb_jmethod(c->self, name)) != NULL) return hyb_jinja_method(j, c->self, f, out);
    *out = hyb_jundefined(name, true); /* of dicts it never gives the members */
    return true;
}
static bool hyb_jf_length(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    switch (c->self.type) {
    case HYB_J_STRING: *out = hyb_jint((int64_t)hyb_jstring_chars(&j->arena, c->self.u.s)); return true;
    case HYB_J_LIST:
        if (c->self.u.list->kind == HYB_J_ITERATOR)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a generator has no length");
        *out = hyb_jint((int64_t)c->self.u.list->n);
        return true;
    case HYB_J_DICT: *out = hyb_jint((int64_t)c->self.u.dict->n); return true;
    case HYB_J_UNDEFINED: *out = hyb_jint(0); return true;
    default: return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s has no length", hyb_jtype_name(c->self));
    }
}
#endif
