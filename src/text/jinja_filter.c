/* text/jinja_filter: what stands behind '|'. */

/* What map, select, reversed and their like give: an iterator in Python, a list in huggingface.js. */
HYBRID__INLINE hybrid__jlist_kind hybrid__jlazy(const hybrid__jinja *j) { return j->js ? HYBRID__J_PLAIN : HYBRID__J_ITERATOR; }

/* The member that attribute= names: an index, a name, or names and indices separated by dots. */
static bool hybrid__jinja_path(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue path, hybrid__jvalue *out)
{
    const char *p, *end, *q;
    if (path.type != HYBRID__J_STRING) return hybrid__jinja_item(j, v, path, out);
    *out = v;
    for (p = path.u.s->p, end = p + path.u.s->n; ; p = q + 1) {
        hybrid__jvalue key;
        bool number;
        int64_t index = 0;
        const char *d;
        for (q = p; q < end && *q != '.'; q++) {}
        number = q > p && q - p < 10;
        for (d = p; d < q; d++) { number = number && hybrid__is_digit(*d); if (number) index = index * 10 + (*d - '0'); }
        if (!hybrid__jinja_view(j, p, (size_t)(q - p), &key)) return false;
        if (number) key = hybrid__jint(index);
        if (!hybrid__jinja_item(j, *out, key, out)) return false;
        if (q == end) return true;
    }
}

/* What a value is compared by: its member, in lower case unless case matters. */
static bool hybrid__jinja_sort_key(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue attribute, bool exact, hybrid__jvalue *key)
{
    *key = v;
    if (attribute.type != HYBRID__J_MISSING && attribute.type != HYBRID__J_NONE && !hybrid__jinja_path(j, v, attribute, key)) return false;
    return exact || key->type != HYBRID__J_STRING || hybrid__jinja_casing(j, key->u.s, HYBRID__J_LOWER, key);
}

/* ---- text ---- */

/* Filters of strings take any value, as its text. */
#define HYBRID__J_TEXT_FILTER(name, method)                                                      \
    static bool hybrid__jf_##name(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)       \
    {                                                                                            \
        return hybrid__jinja_to_string(j, c->self, &c->self) && method(j, c, out);               \
    }
HYBRID__J_TEXT_FILTER(upper, hybrid__jm_upper)
HYBRID__J_TEXT_FILTER(lower, hybrid__jm_lower)
HYBRID__J_TEXT_FILTER(capitalize, hybrid__jm_capitalize)
HYBRID__J_TEXT_FILTER(trim, hybrid__jm_strip)
HYBRID__J_TEXT_FILTER(center, hybrid__jm_pad)
#undef HYBRID__J_TEXT_FILTER

static bool hybrid__jf_title(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    return hybrid__jinja_to_string(j, c->self, &c->self) && hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_TITLE_FILTER, out);
}
static bool hybrid__jf_string(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_to_string(j, c->self, out); }

static bool hybrid__jf_replace(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue s, from, to;
    int64_t most;
    return hybrid__jinja_to_string(j, c->self, &s) && hybrid__jinja_to_string(j, c->a[0], &from) && hybrid__jinja_to_string(j, c->a[1], &to)
        && hybrid__jinja_want_int(j, c->name, c->a[2], -1, &most) && hybrid__jinja_replace(j, s.u.s, from.u.s, to.u.s, most, out);
}

static bool hybrid__jf_escape(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue s;
    size_t i;
    if (!hybrid__jinja_to_string(j, c->self, &s)) return false;
    for (i = 0; i < s.u.s->n; i++) {
        char one = s.u.s->p[i];
        const char *entity = one == '&' ? "&amp;" : one == '<' ? "&lt;" : one == '>' ? "&gt;" : one == '"' ? "&#34;" : one == '\'' ? "&#39;" : NULL;
        if (entity ? !hybrid__jinja_puts(j, &b, entity) : !hybrid__jinja_put(j, &b, &one, 1)) return false;
    }
    return hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jf_indent(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue s, by;
    bool first = hybrid__jflag(c->a[1], false), blank = hybrid__jflag(c->a[2], false), start = true;
    int64_t width = 4;
    const char *p, *end, *q;
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (!hybrid__jinja_to_string(j, c->self, &s)) return false;
    if (c->a[0].type == HYBRID__J_STRING) by = c->a[0];
    else if (!hybrid__jinja_want_int(j, c->name, c->a[0], 4, &width) || !hybrid__jinja_view(j, " ", 1, &by) || !hybrid__jinja_repeat(j, by, width, &by)) return false;
    for (p = s.u.s->p, end = p + s.u.s->n; ; p = q + 1, start = false) {
        for (q = p; q < end && *q != '\n' && *q != '\r'; q++) {}
        if ((start ? first : blank || q > p) && !hybrid__jinja_put(j, &b, by.u.s->p, by.u.s->n)) return false;
        if (!hybrid__jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) return hybrid__jinja_text(j, &b, out);
        if (*q == '\r' && q + 1 < end && q[1] == '\n') q++;
        if (!hybrid__jinja_put(j, &b, "\n", 1)) return false;
    }
}

static bool hybrid__jf_truncate(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue s, end;
    hybrid__jstring *tail;
    int64_t length, leeway, keep;
    size_t bytes, i;
    if (!hybrid__jinja_to_string(j, c->self, &s) || !hybrid__jinja_want_int(j, c->name, c->a[0], 255, &length) || !hybrid__jinja_view(j, "...", 3, &end)
        || !hybrid__jinja_want_string(j, c->name, c->a[2].type == HYBRID__J_MISSING ? end : c->a[2], &tail)
        || !hybrid__jinja_want_int(j, c->name, c->a[3], 5, &leeway)) return false;
    keep = length - (int64_t)hybrid__jstring_chars(&j->arena, tail);
    if (length > INT32_MAX || length < 0 || leeway < 0 || leeway > INT32_MAX || keep < 0) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate: length and leeway must hold the end mark");
    if ((int64_t)hybrid__jstring_chars(&j->arena, s.u.s) <= length + leeway) { *out = s; return true; }
    bytes = hybrid__jstring_at(&j->arena, s.u.s, (size_t)keep);
    if (!hybrid__jflag(c->a[1], false)) for (i = bytes; i-- > 0; ) if (s.u.s->p[i] == ' ') { bytes = i; break; }
    return hybrid__jinja_view(j, s.u.s->p, bytes, &s) && hybrid__jinja_check(j, hybrid__jstring_concat(&j->arena, s.u.s, tail->p, tail->n, out));
}

static bool hybrid__jf_wordcount(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue s;
    const char *p, *end;
    bool inside = false;
    uint32_t code;
    if (!hybrid__jinja_to_string(j, c->self, &s)) return false;
    *out = hybrid__jint(0);
    for (p = s.u.s->p, end = p + s.u.s->n; p < end; ) {
        bool word;
        p += hybrid__utf8_next(p, end, &code);
        word = hybrid__jletter(code) || (code >= '0' && code <= '9') || code == '_';
        out->u.i += word && !inside;
        inside = word;
    }
    return true;
}

static bool hybrid__jf_urlencode(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue s;
    size_t i;
    if (!hybrid__jinja_to_string(j, c->self, &s)) return false;
    for (i = 0; i < s.u.s->n; i++) {
        unsigned char one = (unsigned char)s.u.s->p[i];
        char text[8];
        bool plain = one < 0x80 && one && (hybrid__jletter(one) || hybrid__is_digit((char)one) || strchr("_.-~/", one) != NULL);
        snprintf(text, sizeof text, plain ? "%c" : "%%%02X", one);
        if (!hybrid__jinja_puts(j, &b, text)) return false;
    }
    return hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jf_format(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue values = hybrid__jnone(), key = hybrid__jnone();
    size_t i;
    if (!hybrid__jinja_to_string(j, c->self, &c->self)) return false;
    if (c->args->n_named) {
        if (!hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &values))) return false;
        key.type = HYBRID__J_STRING;
        for (i = 0; i < c->args->n_named; i++) {
            key.u.s = c->args->names[i];
            if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, values.u.dict, key, c->args->named[i]))) return false;
        }
    } else {
        if (!hybrid__jinja_new_list(j, c->args->n, HYBRID__J_TUPLE, &values)) return false;
        for (i = 0; i < c->args->n; i++) if (!hybrid__jinja_push(j, values, c->args->v[i])) return false;
    }
    return hybrid__jinja_percent(j, c->self.u.s, values, out);
}

static bool hybrid__jf_tojson(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jformat f;
    hybrid__jvalue by;
    int64_t width;
    memset(&f, 0, sizeof f);
    f.ascii = hybrid__jflag(c->a[0], false);
    f.sort = hybrid__jflag(c->a[3], false);
    if (c->a[1].type == HYBRID__J_STRING) { f.indent = c->a[1].u.s->p; f.n_indent = c->a[1].u.s->n; }
    else if (c->a[1].type != HYBRID__J_MISSING && c->a[1].type != HYBRID__J_NONE) {
        if (!hybrid__jinja_want_int(j, c->name, c->a[1], 0, &width) || !hybrid__jinja_view(j, " ", 1, &by) || !hybrid__jinja_repeat(j, by, width, &by)) return false;
        f.indent = by.u.s->p;
        f.n_indent = by.u.s->n;
    }
    f.comma = f.indent ? "," : ", ";
    f.colon = ": ";
    f.n_comma = f.indent ? 1 : 2;
    f.n_colon = 2;
    if (c->a[2].type == HYBRID__J_LIST) {
        hybrid__jstring *comma, *colon;
        if (c->a[2].u.list->n != 2) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: separators must be two strings");
        if (!hybrid__jinja_want_string(j, c->name, c->a[2].u.list->items[0], &comma) || !hybrid__jinja_want_string(j, c->name, c->a[2].u.list->items[1], &colon)) return false;
        f.comma = comma->p; f.n_comma = comma->n;
        f.colon = colon->p; f.n_colon = colon->n;
    }
    return hybrid__jinja_json(j, &b, &f, c->self, 0) && hybrid__jinja_text(j, &b, out);
}

/* ---- numbers ---- */

static bool hybrid__jf_abs(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (!hybrid__jis_number(c->self)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "abs expects a number, not a %s", hybrid__jtype_name(c->self));
    if (c->self.type == HYBRID__J_FLOAT) { *out = hybrid__jfloat(fabs(c->self.u.d)); return true; }
    if (hybrid__jwhole(c->self) == INT64_MIN) return hybrid__jinja_overflow(j);
    *out = hybrid__jint(hybrid__jwhole(c->self) < 0 ? -hybrid__jwhole(c->self) : hybrid__jwhole(c->self));
    return true;
}

/* As Python's float(text): false when it is none. */
static bool hybrid__jparse_real(const hybrid__jstring *s, double *v)
{
    const char *p = s->p, *end = p + s->n;
    size_t used;
    hybrid__jtrim(&p, &end, true, true);
    if (p < end && *p == '+') p++;
    used = hybrid__decimal_read(p, end, v);
    if (used && p + used < end && p[used] == '.') used++;   /* "1." */
    return used && p + used == end;
}
/* As Python's int(text, base). */
static bool hybrid__jparse_int(const hybrid__jstring *s, int64_t base, int64_t *v)
{
    const char *p = s->p, *end = p + s->n;
    bool minus, any = false;
    hybrid__jtrim(&p, &end, true, true);
    minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    if (end - p > 2 && p[0] == '0' && ((base == 16 && (p[1] | 32) == 'x') || (base == 8 && (p[1] | 32) == 'o') || (base == 2 && (p[1] | 32) == 'b'))) p += 2;
    for (*v = 0; p < end; p++) {
        int d = hybrid__is_digit(*p) ? *p - '0' : (*p | 32) >= 'a' && (*p | 32) <= 'z' ? (*p | 32) - 'a' + 10 : 99;
        if (*p == '_' && any && p + 1 < end) continue;
        if (d >= base || !hybrid__jmul(*v, base, v) || *v < INT64_MIN + d) return false;
        *v -= d;                                             /* negative: it reaches further */
        any = true;
    }
    if (!any || (!minus && *v == INT64_MIN)) return false;
    if (!minus) *v = -*v;
    return true;
}

static bool hybrid__jf_int(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    int64_t base, v;
    double d = 0;
    if (!hybrid__jinja_want_int(j, c->name, c->a[1], 10, &base)) return false;
    if (base < 2 || base > 36) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "int: the base must be 2..36");
    *out = c->a[0].type == HYBRID__J_MISSING ? hybrid__jint(0) : c->a[0];
    if (hybrid__jis_whole(c->self)) { *out = hybrid__jint(hybrid__jwhole(c->self)); return true; }
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (c->self.type == HYBRID__J_STRING && hybrid__jparse_int(c->self.u.s, base, &v)) { *out = hybrid__jint(v); return true; }
    if (c->self.type == HYBRID__J_FLOAT) d = c->self.u.d;
    else if (c->self.type != HYBRID__J_STRING || !hybrid__jparse_real(c->self.u.s, &d)) return true;
    if (d > -9.2e18 && d < 9.2e18) *out = hybrid__jint((int64_t)d);
    return true;
}
static bool hybrid__jf_float(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    double d;
    *out = c->a[0].type == HYBRID__J_MISSING ? hybrid__jfloat(0) : c->a[0];
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (hybrid__jis_number(c->self)) *out = hybrid__jfloat(hybrid__jreal(c->self));
    else if (c->self.type == HYBRID__J_STRING && hybrid__jparse_real(c->self.u.s, &d)) *out = hybrid__jfloat(d);
    return true;
}

static bool hybrid__jf_round(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue common;
    hybrid__jstring *method;
    int64_t digits;
    double d, scale;
    char text[400];
    if (!hybrid__jis_number(c->self)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round expects a number, not a %s", hybrid__jtype_name(c->self));
    if (!hybrid__jinja_want_int(j, c->name, c->a[0], 0, &digits) || !hybrid__jinja_view(j, "common", 6, &common)
        || !hybrid__jinja_want_string(j, c->name, c->a[1].type == HYBRID__J_MISSING ? common : c->a[1], &method)) return false;
    if (digits < -18 || digits > 40) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the precision must be -18..40");
    d = hybrid__jreal(c->self);
    scale = pow(10, (double)digits);
    if (hybrid__jstring_is(method, "ceil")) *out = hybrid__jfloat(ceil(d * scale) / scale);
    else if (hybrid__jstring_is(method, "floor")) *out = hybrid__jfloat(floor(d * scale) / scale);
    else if (!hybrid__jstring_is(method, "common")) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the method must be common, ceil or floor");
    else if (digits >= 0) {
        if (hybrid__jis_whole(c->self)) { *out = hybrid__jint(hybrid__jwhole(c->self)); return true; }
        hybrid__decimal_read(text, text + hybrid__jformat_real(d, 'f', (int)digits, text), &d);   /* rounded by its exact decimal value */
        *out = hybrid__jfloat(d);
    } else {
        double units = d * scale, low = floor(units), rest = units - low;
        low += rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0);
        d = low / scale;
        *out = hybrid__jis_whole(c->self) ? hybrid__jint((int64_t)d) : hybrid__jfloat(d);
    }
    return true;
}

static bool hybrid__jf_sum(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    size_t i;
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    *out = c->a[1].type == HYBRID__J_MISSING ? hybrid__jint(0) : c->a[1];
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue v;
        if (!hybrid__jinja_sort_key(j, items->items[i], c->a[0], true, &v) || !hybrid__jinja_binary(j, HYBRID__J_ADD, *out, v, out)) return false;
    }
    return true;
}

/* ---- any value ---- */

static bool hybrid__jf_default(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    bool replace = c->self.type == HYBRID__J_UNDEFINED || (hybrid__jflag(c->a[1], false) && !hybrid__jtruth(c->self));
    *out = c->self;
    if (!replace) return true;
    *out = c->a[0];
    return c->a[0].type != HYBRID__J_MISSING || hybrid__jinja_view(j, "", 0, out);
}
static bool hybrid__jf_safe(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_to_string(j, c->self, out); }
static bool hybrid__jf_pprint(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    return hybrid__jinja_repr(j, &b, c->self) && hybrid__jinja_text(j, &b, out);
}
static bool hybrid__jf_attr(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jstring *name;
    const hybrid__jbuiltin *f;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &name)) return false;
    if (c->self.type == HYBRID__J_NAMESPACE || c->self.type == HYBRID__J_LOOP) return hybrid__jinja_attribute(j, c->self, name, out);
    if ((f = hybrid__jmethod(c->self, name)) != NULL) return hybrid__jinja_method(j, c->self, f, out);
    *out = hybrid__jundefined(name, true);                   /* of dicts it never gives the members */
    return true;
}
static bool hybrid__jf_length(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    switch (c->self.type) {
    case HYBRID__J_STRING: *out = hybrid__jint((int64_t)hybrid__jstring_chars(&j->arena, c->self.u.s)); return true;
    case HYBRID__J_LIST: *out = hybrid__jint((int64_t)c->self.u.list->n); return true;
    case HYBRID__J_DICT: *out = hybrid__jint((int64_t)c->self.u.dict->n); return true;
    case HYBRID__J_UNDEFINED: *out = hybrid__jint(0); return true;
    default: return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a %s has no length", hybrid__jtype_name(c->self));
    }
}

/* ---- sequences ---- */

static bool hybrid__jf_list(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    return hybrid__jinja_items(j, c->self, &items) && (hybrid__jlist_view(&j->arena, items, 0, items->n, HYBRID__J_PLAIN, out) || hybrid__jinja_spent(j));
}
static bool hybrid__jf_first(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    *out = items->n ? items->items[c->name[0] == 'f' ? 0 : items->n - 1] : hybrid__jundefined(NULL, false);
    return true;
}
static bool hybrid__jf_reverse(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue none = hybrid__jnone();
    if (c->self.type == HYBRID__J_STRING) return hybrid__jinja_slice(j, c->self, none, none, hybrid__jint(-1), out);
    if (!hybrid__jf_list(j, c, out) || !hybrid__jinja_slice(j, *out, none, none, hybrid__jint(-1), out)) return false;
    out->u.list->kind = hybrid__jlazy(j);
    return true;
}
static bool hybrid__jf_items(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out);
    if (c->self.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "items expects a dict, not a %s", hybrid__jtype_name(c->self));
    return hybrid__jinja_dict_view(j, c->self.u.dict, 'i', hybrid__jlazy(j), out);
}
static bool hybrid__jf_join(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jlist *items;
    size_t i;
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue v;
        if (!hybrid__jinja_sort_key(j, items->items[i], c->a[1], true, &v)) return false;
        if (i && c->a[0].type != HYBRID__J_MISSING && !hybrid__jinja_str(j, &b, c->a[0])) return false;
        if (!hybrid__jinja_str(j, &b, v)) return false;
    }
    return hybrid__jinja_text(j, &b, out);
}

/* A sorted copy of items by their keys. */
static bool hybrid__jinja_sorted(hybrid__jinja *j, const hybrid__jlist *items, hybrid__jvalue attribute, bool exact, bool reverse, hybrid__jvalue *out)
{
    hybrid__jvalue keys;
    size_t i;
    if (!hybrid__jinja_new_list(j, items->n, HYBRID__J_PLAIN, out) || !hybrid__jinja_new_list(j, items->n, HYBRID__J_PLAIN, &keys)) return false;
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue key;
        if (!hybrid__jinja_push(j, *out, items->items[i]) || !hybrid__jinja_sort_key(j, items->items[i], attribute, exact, &key) || !hybrid__jinja_push(j, keys, key)) return false;
    }
    return hybrid__jinja_sort(j, out->u.list->items, keys.u.list->items, items->n, reverse);
}
static bool hybrid__jf_sort(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    return hybrid__jinja_items(j, c->self, &items) && hybrid__jinja_sorted(j, items, c->a[2], hybrid__jflag(c->a[1], false), hybrid__jflag(c->a[0], false), out);
}
static bool hybrid__jf_dictsort(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue pairs;
    bool by_value = c->a[1].type == HYBRID__J_STRING && hybrid__jstring_is(c->a[1].u.s, "value");
    if (c->self.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "dictsort expects a dict, not a %s", hybrid__jtype_name(c->self));
    return hybrid__jinja_dict_view(j, c->self.u.dict, 'i', HYBRID__J_PLAIN, &pairs)
        && hybrid__jinja_sorted(j, pairs.u.list, hybrid__jint(by_value), hybrid__jflag(c->a[0], false), hybrid__jflag(c->a[2], false), out);
}
static bool hybrid__jf_minmax(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    hybrid__jvalue best = hybrid__jnone(), key;
    size_t i;
    int order;
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    *out = hybrid__jundefined(NULL, false);
    for (i = 0; i < items->n; i++) {
        if (!hybrid__jinja_sort_key(j, items->items[i], c->a[1], hybrid__jflag(c->a[0], false), &key)) return false;
        if (i && (!hybrid__jinja_order(j, key, best, &order) || (c->name[1] == 'i' ? order >= 0 : order <= 0))) { if (j->result) return false; continue; }
        best = key;
        *out = items->items[i];
    }
    return true;
}
static bool hybrid__jf_unique(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    hybrid__jvalue seen, key;
    size_t i;
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &seen)) || !hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out)) return false;
    for (i = 0; i < items->n; i++) {
        uint32_t before = seen.u.dict->n;
        if (!hybrid__jinja_sort_key(j, items->items[i], c->a[1], hybrid__jflag(c->a[0], false), &key)
            || !hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, seen.u.dict, key, key))) return false;
        if (seen.u.dict->n > before && !hybrid__jinja_push(j, *out, items->items[i])) return false;
    }
    return true;
}
static bool hybrid__jf_groupby(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    hybrid__jvalue sorted, key, last = hybrid__jnone(), group = hybrid__jnone(), pair;
    bool exact = hybrid__jflag(c->a[2], false);
    size_t i;
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_sorted(j, items, c->a[0], exact, false, &sorted) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
    for (i = 0; i < sorted.u.list->n; i++) {
        int same = 0;
        if (!hybrid__jinja_sort_key(j, sorted.u.list->items[i], c->a[0], exact, &key)) return false;
        if (key.type == HYBRID__J_UNDEFINED && sorted.u.list->n > 1) return hybrid__jinja_undefined(j, key);
        if (i && (same = hybrid__jequal(&j->arena, key, last, j->depth)) < 0) return hybrid__jinja_spent(j);
        if (!same) {
            hybrid__jvalue shown;
            if (!hybrid__jinja_sort_key(j, sorted.u.list->items[i], c->a[0], true, &shown) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, &group)
                || !hybrid__jinja_pair(j, shown, group, &pair) || !hybrid__jinja_push(j, *out, pair)) return false;
        }
        last = key;
        if (!hybrid__jinja_push(j, group, sorted.u.list->items[i])) return false;
    }
    return true;
}

/* batch: rows of n; slice: n columns as even as can be. */
static bool hybrid__jf_batch(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jlist *items;
    hybrid__jvalue row;
    bool slice = c->name[0] == 's', fill = c->a[1].type != HYBRID__J_MISSING && c->a[1].type != HYBRID__J_NONE;
    int64_t n;
    size_t i, k, rows, width, extra, at = 0;
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_want_int(j, c->name, c->a[0], 0, &n) || !hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out)) return false;
    if (n < 1 || n > INT32_MAX) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the number must be positive", c->name);
    rows = slice ? (size_t)n : (items->n + (size_t)n - 1) / (size_t)n;
    width = slice ? items->n / (size_t)n : (size_t)n;
    extra = slice ? items->n % (size_t)n : 0;
    for (i = 0; i < rows; i++) {
        size_t take = HYBRID__MIN(width + (i < extra), items->n - at);
        if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, &row)) return false;
        for (k = 0; k < take; k++) if (!hybrid__jinja_push(j, row, items->items[at + k])) return false;
        at += take;
        if (fill && (slice ? i >= extra : take < width))
            for (k = take; k < (slice ? width + 1 : width); k++) if (!hybrid__jinja_push(j, row, c->a[1])) return false;
        if (!hybrid__jinja_push(j, *out, row)) return false;
    }
    return true;
}

/* ---- filters and tests that take the name of another one ---- */

static bool hybrid__jinja_filter(hybrid__jinja *j, const hybrid__jstring *name, hybrid__jvalue v, const hybrid__jargs *args, hybrid__jvalue *out);
static bool hybrid__jinja_test(hybrid__jinja *j, const hybrid__jstring *name, hybrid__jvalue v, const hybrid__jargs *args, bool *out);

static hybrid__jargs hybrid__jargs_from(const hybrid__jargs *args, size_t from)
{
    hybrid__jargs rest = *args;
    if (from) rest.v += from;
    rest.n -= from;
    return rest;
}

static bool hybrid__jf_map(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue attribute = hybrid__jnone(), missing = hybrid__jnone(), v;
    hybrid__jstring *name = NULL;
    hybrid__jargs rest = *c->args;
    hybrid__jlist *items;
    size_t i;
    attribute.type = missing.type = HYBRID__J_MISSING;
    for (i = 0; i < c->args->n_named; i++) {
        if (hybrid__jstring_is(c->args->names[i], "attribute")) attribute = c->args->named[i];
        if (hybrid__jstring_is(c->args->names[i], "default")) missing = c->args->named[i];
    }
    if (c->args->n) {
        if (!hybrid__jinja_want_string(j, c->name, c->args->v[0], &name)) return false;
        rest = hybrid__jargs_from(c->args, 1);
    } else if (attribute.type == HYBRID__J_MISSING) {
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "map needs the name of a filter, or attribute=");
    }
    if (!hybrid__jtruth(c->self)) return hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out);    /* None, 0: not even looked at */
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_new_list(j, items->n, hybrid__jlazy(j), out)) return false;
    for (i = 0; i < items->n; i++) {
        if (name ? !hybrid__jinja_filter(j, name, items->items[i], &rest, &v) : !hybrid__jinja_path(j, items->items[i], attribute, &v)) return false;
        if (!name && v.type == HYBRID__J_UNDEFINED && missing.type != HYBRID__J_MISSING) v = missing;
        if (!hybrid__jinja_push(j, *out, v)) return false;
    }
    return true;
}

/* select, reject, selectattr, rejectattr */
static bool hybrid__jf_select(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    bool by_attribute = strlen(c->name) > 6, keep = c->name[0] == 's', yes;
    size_t at = by_attribute ? 1 : 0, i;
    hybrid__jstring *name = NULL;
    hybrid__jargs rest;
    hybrid__jlist *items;
    if (c->args->n < at) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s needs the name of an attribute", c->name);
    rest = hybrid__jargs_from(c->args, at);
    if (rest.n) {
        if (!hybrid__jinja_want_string(j, c->name, rest.v[0], &name)) return false;
        rest = hybrid__jargs_from(&rest, 1);
    }
    if (!hybrid__jtruth(c->self)) return hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out);
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_new_list(j, 0, hybrid__jlazy(j), out)) return false;
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue v = items->items[i];
        if (by_attribute && !hybrid__jinja_path(j, v, c->args->v[0], &v)) return false;
        yes = hybrid__jtruth(v);
        if (name && !hybrid__jinja_test(j, name, v, &rest, &yes)) return false;
        if (yes == keep && !hybrid__jinja_push(j, *out, items->items[i])) return false;
    }
    return true;
}

static const hybrid__jbuiltin hybrid__jfilters[] = {
    { "abs", "", 0, hybrid__jf_abs }, { "attr", "name", 1, hybrid__jf_attr }, { "batch", "linecount fill_with", 1, hybrid__jf_batch },
    { "capitalize", "", 0, hybrid__jf_capitalize }, { "center", "width", 0, hybrid__jf_center }, { "count", "", 0, hybrid__jf_length },
    { "d", "default_value boolean", 0, hybrid__jf_default }, { "default", "default_value boolean", 0, hybrid__jf_default },
    { "dictsort", "case_sensitive by reverse", 0, hybrid__jf_dictsort }, { "e", "", 0, hybrid__jf_escape }, { "escape", "", 0, hybrid__jf_escape },
    { "first", "", 0, hybrid__jf_first }, { "float", "default", 0, hybrid__jf_float }, { "forceescape", "", 0, hybrid__jf_escape },
    { "format", "*", 0, hybrid__jf_format }, { "groupby", "attribute default case_sensitive", 1, hybrid__jf_groupby },
    { "indent", "width first blank", 0, hybrid__jf_indent }, { "int", "default base", 0, hybrid__jf_int }, { "items", "", 0, hybrid__jf_items },
    { "join", "d attribute", 0, hybrid__jf_join }, { "last", "", 0, hybrid__jf_first }, { "length", "", 0, hybrid__jf_length },
    { "list", "", 0, hybrid__jf_list }, { "lower", "", 0, hybrid__jf_lower }, { "map", "*", 0, hybrid__jf_map },
    { "max", "case_sensitive attribute", 0, hybrid__jf_minmax }, { "min", "case_sensitive attribute", 0, hybrid__jf_minmax },
    { "pprint", "", 0, hybrid__jf_pprint }, { "reject", "*", 0, hybrid__jf_select }, { "rejectattr", "*", 0, hybrid__jf_select },
    { "replace", "old new count", 2, hybrid__jf_replace }, { "reverse", "", 0, hybrid__jf_reverse }, { "round", "precision method", 0, hybrid__jf_round },
    { "safe", "", 0, hybrid__jf_safe }, { "select", "*", 0, hybrid__jf_select }, { "selectattr", "*", 0, hybrid__jf_select },
    { "slice", "slices fill_with", 1, hybrid__jf_batch }, { "sort", "reverse case_sensitive attribute", 0, hybrid__jf_sort },
    { "string", "", 0, hybrid__jf_string }, { "sum", "attribute start", 0, hybrid__jf_sum }, { "title", "", 0, hybrid__jf_title },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, hybrid__jf_tojson }, { "trim", "chars", 0, hybrid__jf_trim },
    { "truncate", "length killwords end leeway", 0, hybrid__jf_truncate }, { "unique", "case_sensitive attribute", 0, hybrid__jf_unique },
    { "upper", "", 0, hybrid__jf_upper }, { "urlencode", "", 0, hybrid__jf_urlencode }, { "wordcount", "", 0, hybrid__jf_wordcount }
};

static bool hybrid__jinja_filter(hybrid__jinja *j, const hybrid__jstring *name, hybrid__jvalue v, const hybrid__jargs *args, hybrid__jvalue *out)
{
    const hybrid__jbuiltin *f = hybrid__jbuiltin_find(hybrid__jfilters, HYBRID__COUNT(hybrid__jfilters), name->p, name->n);
    bool ok;
    if (!f) return hybrid__jinja_fail(j, HYBRID_ERROR_UNSUPPORTED, "there is no filter '%.*s'", (int)HYBRID__MIN(name->n, (size_t)60), name->p);
    if (!hybrid__jinja_enter(j)) return false;               /* map('map', ...) */
    ok = hybrid__jbuiltin_call(j, f, v, args, out);
    j->depth++;
    return ok;
}
