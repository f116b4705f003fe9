/* text/jinja/filters/text: filters of strings, and those that make one: tojson, urlencode, format. */
#ifndef HYB_TEXT_JINJA_FILTERS_TEXT_C
#define HYB_TEXT_JINJA_FILTERS_TEXT_C
#include "../ops.c"

/* Filters of strings take any value, as its text. */
#define HYB_J_TEXT_FILTER(name, method) \
    static bool hyb_jf_##name(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) \
    { \
        if (!hyb_jinja_to_string(j, c->self, &c->self) || !method(j, c, out)) return false; \
        out->mark = c->self.mark; \
        return true; \
    }
HYB_J_TEXT_FILTER(case, hyb_jm_case)
HYB_J_TEXT_FILTER(trim, hyb_jm_strip)
static bool hyb_jinja_center(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (c->a[0].type == HYB_J_MISSING) c->a[0] = hyb_jint(80);
    return hyb_jm_pad(j, c, out);
}
HYB_J_TEXT_FILTER(center, hyb_jinja_center)
#undef HYB_J_TEXT_FILTER

/* Words begin after blanks, dashes and opening brackets; the first character of each in upper case, the others in
 * lower. */
static bool hyb_jf_title(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p, *end, *q, *first;
    uint32_t code;
    if (!hyb_jinja_to_string(j, c->self, &c->self)) return false;
    for (p = c->self.u.s->p, end = p + c->self.u.s->n; p < end; p = q) {
        first = p + hyb_utf8_next(p, end, &code);
        if (hyb_jspace(code) || (code < 0x80 && code && strchr("-({[<", (int)code))) {
            if (!hyb_jinja_put(j, &b, p, (size_t)(first - p))) return false;
            q = first;
            continue;
        }
        for (q = first; q < end; q += hyb_utf8_next(q, end, &code)) {
            hyb_utf8_next(q, end, &code);
            if (hyb_jspace(code) || (code < 0x80 && code && strchr("-({[<", (int)code))) break;
        }
        if (!hyb_jinja_cased(j, &b, p, first, HYB_J_UPPER) || !hyb_jinja_cased(j, &b, first, q, HYB_J_LOWER))
            return false;
    }
    return hyb_jinja_text(j, &b, out);
}
static bool hyb_jf_string(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) { return hyb_jinja_to_string(j, c->self, out); }

static bool hyb_jf_replace(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue s, from, to;
    int64_t most;
    return hyb_jinja_to_string(j, c->self, &s) && hyb_jinja_to_string(j, c->a[0], &from) &&
           hyb_jinja_to_string(j, c->a[1], &to) && hyb_jinja_want_int(j, c->name, c->a[2], -1, &most) &&
           hyb_jinja_replace(j, s.u.s, from.u.s, to.u.s, most, out);
}

static bool hyb_jf_escape(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_escape(j, c->self, c->name[0] == 'f', out);
}

static bool hyb_jf_indent(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jvalue s, by;
    bool first = hyb_jflag(c->a[1], false), blank = hyb_jflag(c->a[2], false), start = true;
    int64_t width = 4;
    const char *p, *end, *q, *next;
    if (c->self.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, c->self);
    if (c->self.type != HYB_J_STRING && !j->js)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "indent expects a string, not a %s", hyb_jtype_name(c->self));
    if (!hyb_jinja_to_string(j, c->self, &s)) return false;
    if (c->a[0].type == HYB_J_STRING)
        by = c->a[0];
    else if (!hyb_jinja_want_int(j, c->name, c->a[0], 4, &width) || !hyb_jinja_view(j, " ", 1, &by) ||
             !hyb_jinja_repeat(j, by, width, &by))
        return false;
    for (p = s.u.s->p, end = p + s.u.s->n;; p = next, start = false) {
        q = hyb_jline_end(p, end, &next);
        if ((start ? first : blank || q > p) && !hyb_jinja_put(j, &b, by.u.s->p, by.u.s->n)) return false;
        if (!hyb_jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        if (!hyb_jinja_put(j, &b, "\n", 1)) return false;
    }
    if (!hyb_jinja_text(j, &b, out)) return false;
    out->mark = s.mark;
    return true;
}

static bool hyb_jf_truncate(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue s, end;
    hyb_jstring *tail;
    int64_t length, leeway, keep;
    size_t bytes, i, size = hyb_jsize(c->self);
    if (c->self.type == HYB_J_LIST && c->self.u.list->kind == HYB_J_ITERATOR) size = SIZE_MAX;
    if (c->self.type != HYB_J_STRING && c->self.type != HYB_J_LIST && c->self.type != HYB_J_DICT &&
        c->self.type != HYB_J_UNDEFINED && !j->js)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate expects a string, not a %s", hyb_jtype_name(c->self));
    if (!hyb_jinja_to_string(j, c->self, &s) || !hyb_jinja_want_int(j, c->name, c->a[0], 255, &length) ||
        !hyb_jinja_view(j, "...", 3, &end) ||
        !hyb_jinja_want_string(j, c->name, c->a[2].type == HYB_J_MISSING ? end : c->a[2], &tail) ||
        !hyb_jinja_want_int(j, c->name, c->a[3], 5, &leeway))
        return false;
    keep = length - (int64_t)hyb_jstring_chars(&j->arena, tail);
    if (length > INT32_MAX || length < 0 || leeway < 0 || leeway > INT32_MAX || keep < 0)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate: length and leeway must hold the end mark");
    if (c->self.type != HYB_J_STRING && !j->js) { /* anything short is left alone */
        *out = c->self;
        return size <= (size_t)(length + leeway) ||
               hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate expects a string, not a %s", hyb_jtype_name(c->self));
    }
    if ((int64_t)hyb_jstring_chars(&j->arena, s.u.s) <= length + leeway) {
        *out = s;
        return true;
    }
    bytes = hyb_jstring_at(&j->arena, s.u.s, (size_t)keep);
    if (!hyb_jflag(c->a[1], false))
        for (i = bytes; i-- > 0;)
            if (s.u.s->p[i] == ' ') {
                bytes = i;
                break;
            }
    c->self.mark = s.mark;
    if (!hyb_jinja_view(j, s.u.s->p, bytes, &s)) return false;
    s.mark = c->self.mark;
    return hyb_jinja_binary(j, HYB_J_ADD, s, c->a[2].type == HYB_J_MISSING ? end : c->a[2], out);
}

static bool hyb_jf_wordcount(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue s;
    const char *p, *end;
    bool inside = false;
    uint32_t code;
    if (!hyb_jinja_to_string(j, c->self, &s)) return false;
    *out = hyb_jint(0);
    for (p = s.u.s->p, end = p + s.u.s->n; p < end;) {
        bool word;
        p += hyb_utf8_next(p, end, &code);
        word = hyb_jis_word(code);
        out->u.i += word && !inside;
        inside = word;
    }
    return true;
}

/* What is not a letter, digit, or one of "_.-~" as %XX of its bytes; in a query '/' too, and blanks become '+'. */
static bool hyb_jinja_quote_url(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, bool query)
{
    hyb_jvalue s;
    size_t i;
    if (!hyb_jinja_to_string(j, v, &s) || !hyb_jarena_work(&j->arena, s.u.s->n / 2)) return hyb_jinja_spent(j);
    for (i = 0; i < s.u.s->n; i++) {
        unsigned char one = (unsigned char)s.u.s->p[i];
        char text[8];
        bool plain = one < 0x80 && one &&
                     (hyb_jis_letter(one) || hyb_is_digit((char)one) || strchr(query ? "_.-~" : "_.-~/", one) != NULL);
        snprintf(text, sizeof text, plain ? "%c" : query && one == ' ' ? "+" : "%%%02X", one);
        if (!hyb_jinja_puts(j, b, text)) return false;
    }
    return true;
}
static bool hyb_jf_urlencode(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jlist *items, *pair;
    size_t i;
    if (c->self.type != HYB_J_LIST && c->self.type != HYB_J_DICT)
        return hyb_jinja_quote_url(j, &b, c->self, false) && hyb_jinja_text(j, &b, out);
    if (c->self.type == HYB_J_DICT) {
        if (!hyb_jinja_dict_view(j, c->self.u.dict, 'i', HYB_J_PLAIN, &c->self)) return false;
    }
    if (!hyb_jinja_items(j, c->self, &items)) return false;
    for (i = 0; i < items->n; i++) {
        if (!hyb_jinja_items(j, items->items[i], &pair)) return false;
        if (pair->n != 2) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "urlencode expects pairs");
        if ((i && !hyb_jinja_put(j, &b, "&", 1)) || !hyb_jinja_quote_url(j, &b, pair->items[0], true) ||
            !hyb_jinja_put(j, &b, "=", 1) || !hyb_jinja_quote_url(j, &b, pair->items[1], true))
            return false;
    }
    return hyb_jinja_text(j, &b, out);
}

static bool hyb_jf_format(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue values = hyb_jnone(), key = hyb_jnone();
    size_t i;
    if (!hyb_jinja_to_string(j, c->self, &c->self)) return false;
    if (c->args->n_named) {
        if (!hyb_jinja_check(j, hyb_jdict_new(&j->arena, &values))) return false;
        key.type = HYB_J_STRING;
        for (i = 0; i < c->args->n_named; i++) {
            key.u.s = c->args->names[i];
            if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, values.u.dict, key, c->args->named[i]))) return false;
        }
    } else {
        if (!hyb_jinja_new_list(j, c->args->n, HYB_J_TUPLE, &values)) return false;
        for (i = 0; i < c->args->n; i++)
            if (!hyb_jinja_push(j, values, c->args->v[i])) return false;
    }
    return hyb_jinja_percent(j, c->self.u.s, c->self.mark != 0, values, out);
}

static bool hyb_jf_tojson(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jformat f;
    hyb_jvalue by;
    int64_t width;
    memset(&f, 0, sizeof f);
    f.ascii = hyb_jflag(c->a[0], false);
    f.sort = hyb_jflag(c->a[3], false);
    if (c->a[1].type == HYB_J_STRING) {
        f.indent = c->a[1].u.s->p;
        f.n_indent = c->a[1].u.s->n;
    } else if (c->a[1].type != HYB_J_MISSING && c->a[1].type != HYB_J_NONE) {
        if (!hyb_jinja_want_int(j, c->name, c->a[1], 0, &width) || !hyb_jinja_view(j, " ", 1, &by) ||
            !hyb_jinja_repeat(j, by, width, &by))
            return false;
        f.indent = by.u.s->p;
        f.n_indent = by.u.s->n;
    }
    f.comma = f.indent ? "," : ", ";
    f.colon = ": ";
    f.n_comma = f.indent ? 1 : 2;
    f.n_colon = 2;
    if (c->a[2].type == HYB_J_LIST) {
        hyb_jstring *comma, *colon;
        if (c->a[2].u.list->n != 2)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: separators must be two strings");
        if (!hyb_jinja_want_string(j, c->name, c->a[2].u.list->items[0], &comma) ||
            !hyb_jinja_want_string(j, c->name, c->a[2].u.list->items[1], &colon))
            return false;
        f.comma = comma->p;
        f.n_comma = comma->n;
        f.colon = colon->p;
        f.n_colon = colon->n;
    }
    return hyb_jinja_json(j, &b, &f, c->self, 0) && hyb_jinja_text(j, &b, out);
}
#endif
