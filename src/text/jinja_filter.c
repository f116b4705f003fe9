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
        if (!hybrid__jinja_to_string(j, c->self, &c->self) || !method(j, c, out)) return false;  \
        out->mark = c->self.mark;                                                                \
        return true;                                                                             \
    }
HYBRID__J_TEXT_FILTER(case, hybrid__jm_case)
HYBRID__J_TEXT_FILTER(trim, hybrid__jm_strip)
static bool hybrid__jinja_center(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (c->a[0].type == HYBRID__J_MISSING) c->a[0] = hybrid__jint(80);
    return hybrid__jm_pad(j, c, out);
}
HYBRID__J_TEXT_FILTER(center, hybrid__jinja_center)
#undef HYBRID__J_TEXT_FILTER

/* Words begin after blanks, dashes and opening brackets; the first character of each in upper case, the others in lower. */
static bool hybrid__jf_title(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p, *end, *q, *first;
    uint32_t code;
    if (!hybrid__jinja_to_string(j, c->self, &c->self)) return false;
    for (p = c->self.u.s->p, end = p + c->self.u.s->n; p < end; p = q) {
        first = p + hybrid__utf8_next(p, end, &code);
        if (hybrid__jspace(code) || (code < 0x80 && code && strchr("-({[<", (int)code))) {
            if (!hybrid__jinja_put(j, &b, p, (size_t)(first - p))) return false;
            q = first;
            continue;
        }
        for (q = first; q < end; q += hybrid__utf8_next(q, end, &code)) {
            hybrid__utf8_next(q, end, &code);
            if (hybrid__jspace(code) || (code < 0x80 && code && strchr("-({[<", (int)code))) break;
        }
        if (!hybrid__jinja_cased(j, &b, p, first, HYBRID__J_UPPER) || !hybrid__jinja_cased(j, &b, first, q, HYBRID__J_LOWER)) return false;
    }
    return hybrid__jinja_text(j, &b, out);
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
    return hybrid__jinja_escape(j, c->self, c->name[0] == 'f', out);
}

static bool hybrid__jf_indent(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue s, by;
    bool first = hybrid__jflag(c->a[1], false), blank = hybrid__jflag(c->a[2], false), start = true;
    int64_t width = 4;
    const char *p, *end, *q, *next;
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (c->self.type != HYBRID__J_STRING && !j->js) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "indent expects a string, not a %s", hybrid__jtype_name(c->self));
    if (!hybrid__jinja_to_string(j, c->self, &s)) return false;
    if (c->a[0].type == HYBRID__J_STRING) by = c->a[0];
    else if (!hybrid__jinja_want_int(j, c->name, c->a[0], 4, &width) || !hybrid__jinja_view(j, " ", 1, &by) || !hybrid__jinja_repeat(j, by, width, &by)) return false;
    for (p = s.u.s->p, end = p + s.u.s->n; ; p = next, start = false) {
        q = hybrid__jline_end(p, end, &next);
        if ((start ? first : blank || q > p) && !hybrid__jinja_put(j, &b, by.u.s->p, by.u.s->n)) return false;
        if (!hybrid__jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        if (!hybrid__jinja_put(j, &b, "\n", 1)) return false;
    }
    if (!hybrid__jinja_text(j, &b, out)) return false;
    out->mark = s.mark;
    return true;
}

static bool hybrid__jf_truncate(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue s, end;
    hybrid__jstring *tail;
    int64_t length, leeway, keep;
    size_t bytes, i, size = hybrid__jsize(c->self);
    if (c->self.type == HYBRID__J_LIST && c->self.u.list->kind == HYBRID__J_ITERATOR) size = SIZE_MAX;
    if (c->self.type != HYBRID__J_STRING && c->self.type != HYBRID__J_LIST && c->self.type != HYBRID__J_DICT && c->self.type != HYBRID__J_UNDEFINED && !j->js)
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate expects a string, not a %s", hybrid__jtype_name(c->self));
    if (!hybrid__jinja_to_string(j, c->self, &s) || !hybrid__jinja_want_int(j, c->name, c->a[0], 255, &length) || !hybrid__jinja_view(j, "...", 3, &end)
        || !hybrid__jinja_want_string(j, c->name, c->a[2].type == HYBRID__J_MISSING ? end : c->a[2], &tail)
        || !hybrid__jinja_want_int(j, c->name, c->a[3], 5, &leeway)) return false;
    keep = length - (int64_t)hybrid__jstring_chars(&j->arena, tail);
    if (length > INT32_MAX || length < 0 || leeway < 0 || leeway > INT32_MAX || keep < 0) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate: length and leeway must hold the end mark");
    if (c->self.type != HYBRID__J_STRING && !j->js) {        /* anything short is left alone */
        *out = c->self;
        return size <= (size_t)(length + leeway) || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "truncate expects a string, not a %s", hybrid__jtype_name(c->self));
    }
    if ((int64_t)hybrid__jstring_chars(&j->arena, s.u.s) <= length + leeway) { *out = s; return true; }
    bytes = hybrid__jstring_at(&j->arena, s.u.s, (size_t)keep);
    if (!hybrid__jflag(c->a[1], false)) for (i = bytes; i-- > 0; ) if (s.u.s->p[i] == ' ') { bytes = i; break; }
    c->self.mark = s.mark;
    if (!hybrid__jinja_view(j, s.u.s->p, bytes, &s)) return false;
    s.mark = c->self.mark;
    return hybrid__jinja_binary(j, HYBRID__J_ADD, s, c->a[2].type == HYBRID__J_MISSING ? end : c->a[2], out);
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
        word = hybrid__jis_word(code);
        out->u.i += word && !inside;
        inside = word;
    }
    return true;
}

/* What is no letter, digit, or one of "_.-~" as %XX of its bytes; in a query '/' too, and blanks become '+'. */
static bool hybrid__jinja_quote_url(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, bool query)
{
    hybrid__jvalue s;
    size_t i;
    if (!hybrid__jinja_to_string(j, v, &s) || !hybrid__jarena_work(&j->arena, s.u.s->n / 2)) return hybrid__jinja_spent(j);
    for (i = 0; i < s.u.s->n; i++) {
        unsigned char one = (unsigned char)s.u.s->p[i];
        char text[8];
        bool plain = one < 0x80 && one && (hybrid__jis_letter(one) || hybrid__is_digit((char)one) || strchr(query ? "_.-~" : "_.-~/", one) != NULL);
        snprintf(text, sizeof text, plain ? "%c" : query && one == ' ' ? "+" : "%%%02X", one);
        if (!hybrid__jinja_puts(j, b, text)) return false;
    }
    return true;
}
static bool hybrid__jf_urlencode(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jlist *items, *pair;
    size_t i;
    if (c->self.type != HYBRID__J_LIST && c->self.type != HYBRID__J_DICT)
        return hybrid__jinja_quote_url(j, &b, c->self, false) && hybrid__jinja_text(j, &b, out);
    if (c->self.type == HYBRID__J_DICT) {
        if (!hybrid__jinja_dict_view(j, c->self.u.dict, 'i', HYBRID__J_PLAIN, &c->self)) return false;
    }
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    for (i = 0; i < items->n; i++) {
        if (!hybrid__jinja_items(j, items->items[i], &pair)) return false;
        if (pair->n != 2) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "urlencode expects pairs");
        if ((i && !hybrid__jinja_put(j, &b, "&", 1)) || !hybrid__jinja_quote_url(j, &b, pair->items[0], true) || !hybrid__jinja_put(j, &b, "=", 1)
            || !hybrid__jinja_quote_url(j, &b, pair->items[1], true)) return false;
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
    return hybrid__jinja_percent(j, c->self.u.s, c->self.mark != 0, values, out);
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

/* An integer beyond 64 bits with the other sign, or without. */
static bool hybrid__jinja_big_sign(hybrid__jinja *j, hybrid__jvalue v, bool plus, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    bool minus = v.u.s->p[0] == '-';
    if ((!minus && !plus && !hybrid__jinja_put(j, &b, "-", 1)) || !hybrid__jinja_put(j, &b, v.u.s->p + minus, v.u.s->n - minus)
        || !hybrid__jinja_text(j, &b, out)) return false;
    out->type = HYBRID__J_BIG;
    return true;
}

static bool hybrid__jf_abs(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (c->self.type == HYBRID__J_BIG) return hybrid__jinja_big_sign(j, c->self, true, out);
    if (!hybrid__jis_number(c->self)) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "abs expects a number, not a %s", hybrid__jtype_name(c->self));
    if (c->self.type == HYBRID__J_FLOAT) { *out = hybrid__jfloat(fabs(c->self.u.d)); return true; }
    if (hybrid__jwhole(c->self) == INT64_MIN) return hybrid__jinja_overflow(j);
    *out = hybrid__jint(hybrid__jwhole(c->self) < 0 ? -hybrid__jwhole(c->self) : hybrid__jwhole(c->self));
    return true;
}

/* As Python's float(text): false when it is none (or j->result is set). Digits of any script, single underscores between them. */
static bool hybrid__jparse_real(hybrid__jinja *j, const hybrid__jstring *s, double *v)
{
    static const char *const words[] = { "inf", "infinity", "nan" };
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    bool minus, digit = false;
    size_t used, i, k;
    uint32_t code;
    hybrid__jtrim(&p, &end, true, true);
    minus = p < end && *p == '-';
    if (p < end && (*p == '+' || *p == '-')) p++;
    while (p < end) {
        size_t n = hybrid__utf8_next(p, end, &code);
        int d = hybrid__jdecimal(code);
        char one = (char)(d >= 0 ? '0' + d : code < 0x80 ? (int)code : '?');
        p += n;
        if (one == '_' && digit && p < end) {
            hybrid__utf8_next(p, end, &code);
            if (hybrid__jdecimal(code) >= 0) { digit = false; continue; }
        }
        digit = d >= 0;
        if (!hybrid__jinja_put(j, &b, &one, 1)) return false;
    }
    if (!b.size || *b.data == '-' || *b.data == '+') return false;
    for (i = 0; i < HYBRID__COUNT(words); i++) {
        for (k = 0; k < b.size && words[i][k] && (b.data[k] | 32) == words[i][k]; k++) {}
        if (k < b.size || words[i][k]) continue;
        *v = i < 2 ? HUGE_VAL : HUGE_VAL - HUGE_VAL;
        if (minus) *v = -*v;
        return true;
    }
    if (b.size >= 2 && *b.data == '.' && !hybrid__is_digit(b.data[1])) return false;
    used = hybrid__decimal_read(b.data, b.data + b.size, v);
    if (used && used < b.size && b.data[used] == '.' && !memchr(b.data, '.', used)) {        /* "1." and "1.e5" */
        double scale;
        size_t more;
        if (used + 1 == b.size) used++;
        else if ((b.data[used + 1] | 32) == 'e' && !memchr(b.data, 'e', used) && !memchr(b.data, 'E', used)) {
            memmove(b.data + used, b.data + used + 1, b.size - used - 1);
            b.size--;
            more = hybrid__decimal_read(b.data, b.data + b.size, &scale);
            if (more == b.size) { used = more; *v = scale; }
        }
    }
    if (minus) *v = -*v;
    return used && used == b.size;
}
/* As Python's int(text, base). 64 bits, or *big: it is more. */
static bool hybrid__jparse_int(const hybrid__jstring *s, int64_t base, int64_t *v, bool *big)
{
    const char *p = s->p, *end = p + s->n;
    bool minus, any = false, zero;
    uint32_t code;
    size_t n;
    *big = false;
    hybrid__jtrim(&p, &end, true, true);
    minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    zero = end - p > 2 && p[0] == '0';
    if (zero && (p[1] | 32) == 'x' && (base == 16 || !base)) { base = 16; p += 2; any = true; }
    else if (zero && (p[1] | 32) == 'o' && (base == 8 || !base)) { base = 8; p += 2; any = true; }
    else if (zero && (p[1] | 32) == 'b' && (base == 2 || !base)) { base = 2; p += 2; any = true; }
    if (any && *p != '_') any = false;                       /* 0x_1 */
    if (!base) {
        base = 10;
        if (end - p > 1 && *p == '0' && strspn(p, "0_") < (size_t)(end - p)) return false;
    }
    for (*v = 0; p < end; p += n) {
        int d;
        n = hybrid__utf8_next(p, end, &code);
        if (code == '_' && any && p + 1 < end) { any = false; continue; }
        d = hybrid__jdecimal(code);
        if (d < 0) d = code < 0x80 && (code | 32) >= 'a' && (code | 32) <= 'z' ? (int)(code | 32) - 'a' + 10 : 99;
        if (d >= base) return false;
        any = true;
        if (*big) continue;
        if (!hybrid__jmul(*v, base, v) || *v < INT64_MIN + d) *big = true;
        else *v -= d;                                        /* negative: it reaches further */
    }
    if (!any) return false;
    if (!minus && *v == INT64_MIN) *big = true;
    if (!minus && !*big) *v = -*v;
    return true;
}

/* The digits of a text that is an integer beyond 64 bits; in other bases than ten that is a limit. */
static bool hybrid__jinja_big(hybrid__jinja *j, const hybrid__jstring *s, int64_t base, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    uint32_t code;
    int d;
    if (base && base != 10) return hybrid__jinja_overflow(j);
    hybrid__jtrim(&p, &end, true, true);
    if (*p == '-' && !hybrid__jinja_put(j, &b, "-", 1)) return false;
    if (*p == '-' || *p == '+') p++;
    while (p < end) {
        char one;
        p += hybrid__utf8_next(p, end, &code);
        if (code == '_') continue;
        if ((d = hybrid__jdecimal(code)) < 0) return hybrid__jinja_overflow(j);                /* 0x... */
        one = (char)('0' + d);
        if ((d || b.size > (b.size && *b.data == '-')) && !hybrid__jinja_put(j, &b, &one, 1)) return false;
    }
    if (!hybrid__jinja_text(j, &b, out)) return false;
    out->type = HYBRID__J_BIG;
    return true;
}

static bool hybrid__jf_int(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    int64_t base, v;
    bool big;
    double d = 0;
    if (!hybrid__jinja_want_int(j, c->name, c->a[1], 10, &base)) return false;
    if (c->self.type == HYBRID__J_BIG) { *out = c->self; return true; }
    if (base < 0 || base == 1 || base > 36) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "int: the base must be 2..36");
    *out = c->a[0].type == HYBRID__J_MISSING ? hybrid__jint(0) : c->a[0];
    if (hybrid__jis_whole(c->self)) { *out = hybrid__jint(hybrid__jwhole(c->self)); return true; }
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (c->self.type == HYBRID__J_STRING && hybrid__jparse_int(c->self.u.s, base, &v, &big)) {
        *out = hybrid__jint(v);
        return !big || hybrid__jinja_big(j, c->self.u.s, base, out);
    }
    if (c->self.type == HYBRID__J_FLOAT) d = c->self.u.d;
    else if (c->self.type != HYBRID__J_STRING || !hybrid__jparse_real(j, c->self.u.s, &d)) return !j->result;
    if (d - d == 0) return hybrid__jinja_whole_of(j, d, out);
    if (c->self.type == HYBRID__J_FLOAT && d == d) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "int: inf is no integer");
    return true;                                             /* the default */
}
static bool hybrid__jf_float(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    double d;
    *out = c->a[0].type == HYBRID__J_MISSING ? hybrid__jfloat(0) : c->a[0];
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (hybrid__jis_number(c->self)) *out = hybrid__jfloat(hybrid__jreal(c->self));
    else if (c->self.type == HYBRID__J_STRING && hybrid__jparse_real(j, c->self.u.s, &d)) *out = hybrid__jfloat(d);
    else if (c->self.type == HYBRID__J_BIG && hybrid__decimal_read(c->self.u.s->p, c->self.u.s->p + c->self.u.s->n, &d)) *out = hybrid__jfloat(d);
    return !j->result;
}

/* A number rounded to a multiple of 10^places, places > 0, half to even, by its exact value; its type stays. */
static bool hybrid__jinja_round_places(hybrid__jinja *j, hybrid__jvalue v, size_t places, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue text = v;
    bool minus, rest = false, big, real = v.type == HYBRID__J_FLOAT;
    int64_t whole;
    char *p;
    size_t i, n;
    *out = v;
    if (real && v.u.d - v.u.d != 0) return true;
    minus = real && signbit(v.u.d);
    if (real && !hybrid__jinja_whole_of(j, fabs(v.u.d), &text)) return false;
    if (real) rest = floor(v.u.d) != v.u.d;
    if (hybrid__jis_whole(text)) text = hybrid__jint(hybrid__jwhole(text));
    if (!hybrid__jinja_put(j, &b, "0", 1) || !hybrid__jinja_str(j, &b, text)) return false;
    p = b.data;
    n = b.size;
    if (n > 1 && p[1] == '-') { p[1] = '0'; minus = true; }
    for (i = HYBRID__MIN(n, places - 1); i > 0; i--) { rest = rest || p[n - i] != '0'; p[n - i] = '0'; }
    if (n > places) {
        bool up = p[n - places] > '5' || (p[n - places] == '5' && (rest || (p[n - places - 1] & 1)));
        p[n - places] = '0';
        for (i = n - places - 1; up; i--) {
            up = p[i] == '9';
            p[i] = (char)(up ? '0' : p[i] + 1);
        }
    } else memset(p, '0', n);
    if (real) {
        hybrid__decimal_read(p, p + n, &v.u.d);
        *out = hybrid__jfloat(minus ? -v.u.d : v.u.d);
        return true;
    }
    for (i = 0; i + 1 < n && p[i] == '0'; i++) {}
    if (minus && p[i] != '0') p[--i] = '-';
    if (!hybrid__jinja_check(j, hybrid__jstring_copy(&j->arena, p + i, n - i, &text))) return false;
    *out = text;
    out->type = HYBRID__J_BIG;
    if (!hybrid__jparse_int(text.u.s, 10, &whole, &big)) return false;
    if (!big) *out = hybrid__jint(whole);
    return true;
}

static bool hybrid__jf_round(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue common;
    hybrid__jstring *method;
    int64_t digits;
    double d, scale;
    size_t n;
    char text[400];
    if (!hybrid__jis_number(c->self) && c->self.type != HYBRID__J_BIG)
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round expects a number, not a %s", hybrid__jtype_name(c->self));
    if (!hybrid__jinja_want_int(j, c->name, c->a[0], 0, &digits) || !hybrid__jinja_view(j, "common", 6, &common)
        || !hybrid__jinja_want_string(j, c->name, c->a[1].type == HYBRID__J_MISSING ? common : c->a[1], &method)) return false;
    if (digits < -300 || digits > 40)
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the precision must be -300..40");
    d = hybrid__jbig_real(c->self);
    if (hybrid__jstring_is(method, "common")) {
        if (digits < 0) return hybrid__jinja_round_places(j, c->self, (size_t)-digits, out);
        *out = hybrid__jis_whole(c->self) ? hybrid__jint(hybrid__jwhole(c->self)) : c->self;
        if (c->self.type != HYBRID__J_FLOAT) return true;
        n = hybrid__jformat_real(d, 'f', (int)digits, false, text);
        hybrid__decimal_read(text, text + n, &d);            /* by its exact decimal value */
        *out = hybrid__jfloat(d);
        return true;
    }
    if (!hybrid__jstring_is(method, "ceil") && !hybrid__jstring_is(method, "floor"))
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the method must be common, ceil or floor");
    scale = pow(10, (double)digits);
    if (c->self.type != HYBRID__J_FLOAT && digits >= 0) {
        *out = hybrid__jfloat(d);
        return true;
    }
    if (d * scale - d * scale != 0) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "round: inf and nan are no integers");
    d = hybrid__jstring_is(method, "ceil") ? ceil(d * scale) : floor(d * scale);
    *out = hybrid__jfloat((d + 0.0) / scale);                /* no -0 */
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
static bool hybrid__jf_safe(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (!hybrid__jinja_to_string(j, c->self, out)) return false;
    out->mark = !j->js;
    return true;
}
/* ---- pprint: as Python's pprint.pformat, 80 columns wide ---- */

/* A copy of v whose dicts are in the order of their keys; dicts with keys of several types stay as they are. */
static bool hybrid__jinja_sorted_dicts(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue *out)
{
    hybrid__jlist *keys = NULL;
    hybrid__jvalue one;
    bool strings = true, numbers = true, ok = true;
    size_t i;
    *out = v;
    if (v.type != HYBRID__J_DICT && (v.type != HYBRID__J_LIST || v.u.list->kind > HYBRID__J_TUPLE)) return true;
    if (!hybrid__jinja_enter(j)) return false;
    if (v.type == HYBRID__J_LIST) {
        ok = hybrid__jinja_new_list(j, v.u.list->n, v.u.list->kind, out);
        for (i = 0; ok && i < v.u.list->n; i++) ok = hybrid__jinja_sorted_dicts(j, v.u.list->items[i], &one) && hybrid__jinja_push(j, *out, one);
    } else {
        for (i = 0; i < v.u.dict->n; i++) {
            strings = strings && v.u.dict->entries[i].key.type == HYBRID__J_STRING;
            numbers = numbers && hybrid__jis_number(v.u.dict->entries[i].key);
        }
        ok = (!(strings || numbers) || hybrid__jinja_sort_keys(j, v.u.dict, &keys)) && hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, out));
        for (i = 0; ok && i < v.u.dict->n; i++) {
            hybrid__jvalue key = keys ? keys->items[i] : v.u.dict->entries[i].key;
            const hybrid__jentry *e = hybrid__jdict_find(&j->arena, v.u.dict, key);
            ok = e ? hybrid__jinja_sorted_dicts(j, e->value, &one) : hybrid__jinja_spent(j);
            ok = ok && hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, key, one));
        }
    }
    j->depth++;
    return ok;
}

/* repr(v), and its length in characters. */
static bool hybrid__jinja_repr_length(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue *text, int64_t *n)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    if (!hybrid__jinja_repr(j, &b, v) || !hybrid__jinja_text(j, &b, text)) return false;
    *n = (int64_t)hybrid__jstring_chars(&j->arena, text->u.s);
    return true;
}

static bool hybrid__jinja_pretty_break(hybrid__jinja *j, hybrid__jbuffer *b, int64_t indent)
{
    if (!hybrid__jinja_put(j, b, "\n", 1)) return false;
    for (; indent > 0; indent--) if (!hybrid__jinja_put(j, b, " ", 1)) return false;
    return true;
}

/* A long text as several, broken at line ends and after blanks. chunks: their reprs. */
static bool hybrid__jinja_pretty_chunks(hybrid__jinja *j, const hybrid__jstring *s, int64_t width, int64_t allowance, hybrid__jvalue chunks)
{
    const char *p, *end = s->p + s->n, *next, *q, *from;
    hybrid__jvalue piece, text;
    uint32_t code;
    int64_t n;
    for (p = s->p; p < end; p = next) {
        hybrid__jline_end(p, end, &next);
        if (!hybrid__jinja_view(j, p, (size_t)(next - p), &piece) || !hybrid__jinja_repr_length(j, piece, &text, &n)) return false;
        if (n <= width - (next == end ? allowance : 0)) { if (!hybrid__jinja_push(j, chunks, text)) return false; continue; }
        for (from = q = p; q < next; ) {                     /* [from, q) is what fits so far */
            const char *r = q;
            size_t used;
            while (r < next && (used = hybrid__utf8_next(r, next, &code)) != 0 && !hybrid__jspace(code)) r += used;
            while (r < next && (used = hybrid__utf8_next(r, next, &code)) != 0 && hybrid__jspace(code)) r += used;
            if (!hybrid__jinja_view(j, from, (size_t)(r - from), &piece) || !hybrid__jinja_repr_length(j, piece, &text, &n)) return false;
            if (n > width - (r == end ? allowance : 0) && q > from) {
                if (!hybrid__jinja_view(j, from, (size_t)(q - from), &piece) || !hybrid__jinja_repr_length(j, piece, &text, &n)
                    || !hybrid__jinja_push(j, chunks, text)) return false;
                from = q;
            }
            q = r;
        }
        if (!hybrid__jinja_view(j, from, (size_t)(q - from), &piece) || !hybrid__jinja_repr_length(j, piece, &text, &n)
            || !hybrid__jinja_push(j, chunks, text)) return false;
    }
    return true;
}
static bool hybrid__jinja_pretty_text(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, hybrid__jvalue repr, int64_t indent, int64_t allowance, bool top)
{
    hybrid__jvalue chunks;
    const hybrid__jlist *l;
    size_t i;
    indent += top;
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, &chunks) || !hybrid__jinja_pretty_chunks(j, v.u.s, 80 - indent, allowance + top, chunks)) return false;
    l = chunks.u.list;
    if (l->n < 2) return hybrid__jinja_put(j, b, repr.u.s->p, repr.u.s->n);
    if (top && !hybrid__jinja_put(j, b, "(", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hybrid__jinja_pretty_break(j, b, indent)) || !hybrid__jinja_put(j, b, l->items[i].u.s->p, l->items[i].u.s->n)) return false;
    return !top || hybrid__jinja_put(j, b, ")", 1);
}

static bool hybrid__jinja_pretty(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, int64_t indent, int64_t allowance, bool top);

static bool hybrid__jinja_pretty_items(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, int64_t indent, int64_t allowance)
{
    bool dict = v.type == HYBRID__J_DICT, tuple = !dict && v.u.list->kind == HYBRID__J_TUPLE;
    size_t n = dict ? v.u.dict->n : v.u.list->n, i;
    const char *close = dict ? "}" : !tuple ? "]" : n == 1 ? ",)" : ")";
    int64_t width;
    if (!hybrid__jinja_put(j, b, dict ? "{" : tuple ? "(" : "[", 1)) return false;
    indent++;
    for (i = 0; i < n; i++) {
        hybrid__jvalue key;
        if (i && (!hybrid__jinja_put(j, b, ",", 1) || !hybrid__jinja_pretty_break(j, b, indent))) return false;
        width = 0;
        if (dict) {
            if (!hybrid__jinja_repr_length(j, v.u.dict->entries[i].key, &key, &width) || !hybrid__jinja_put(j, b, key.u.s->p, key.u.s->n)
                || !hybrid__jinja_put(j, b, ": ", 2)) return false;
            width += 2;
        }
        if (!hybrid__jinja_pretty(j, b, dict ? v.u.dict->entries[i].value : v.u.list->items[i], indent + width,
            i + 1 == n ? allowance + (int64_t)strlen(close) : 1, false)) return false;
    }
    return hybrid__jinja_puts(j, b, close);
}
/* What fits into its line stands there; else dicts, lists and long texts take several. */
static bool hybrid__jinja_pretty(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, int64_t indent, int64_t allowance, bool top)
{
    hybrid__jvalue text;
    int64_t n;
    bool ok;
    if (!hybrid__jinja_repr_length(j, v, &text, &n) || !hybrid__jinja_enter(j)) return false;
    if (n > 80 - indent - allowance && (v.type == HYBRID__J_DICT ? v.u.dict->n > 0 : v.type == HYBRID__J_LIST && v.u.list->kind <= HYBRID__J_TUPLE && v.u.list->n))
        ok = hybrid__jinja_pretty_items(j, b, v, indent, allowance);
    else if (n > 80 - indent - allowance && v.type == HYBRID__J_STRING && !v.mark && v.u.s->n)
        ok = hybrid__jinja_pretty_text(j, b, v, text, indent, allowance, top);
    else ok = hybrid__jinja_put(j, b, text.u.s->p, text.u.s->n);
    j->depth++;
    return ok;
}
static bool hybrid__jf_pprint(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jvalue v;
    return hybrid__jinja_sorted_dicts(j, c->self, &v) && hybrid__jinja_pretty(j, &b, v, 0, 0, true) && hybrid__jinja_text(j, &b, out);
}
static bool hybrid__jf_attr(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jstring *name;
    const hybrid__jbuiltin *f;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &name)) return false;
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_undefined(j, c->self);
    if (c->self.type == HYBRID__J_NAMESPACE || c->self.type == HYBRID__J_LOOP) return hybrid__jinja_attribute(j, c->self, name, out);
    if ((f = hybrid__jmethod(c->self, name)) != NULL) return hybrid__jinja_method(j, c->self, f, out);
    *out = hybrid__jundefined(name, true);                   /* of dicts it never gives the members */
    return true;
}
static bool hybrid__jf_length(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    switch (c->self.type) {
    case HYBRID__J_STRING: *out = hybrid__jint((int64_t)hybrid__jstring_chars(&j->arena, c->self.u.s)); return true;
    case HYBRID__J_LIST:
        if (c->self.u.list->kind == HYBRID__J_ITERATOR) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a generator has no length");
        *out = hybrid__jint((int64_t)c->self.u.list->n);
        return true;
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
    bool iterator = c->self.type == HYBRID__J_LIST && c->self.u.list->kind == HYBRID__J_ITERATOR;
    if (iterator && c->name[0] == 'l') return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a generator has no last value");
    if (iterator) {                                          /* takes one, the others stay */
        items = c->self.u.list;
        if (!hybrid__jinja_wake(j, items)) return false;
        *out = hybrid__jundefined(NULL, false);
        if (!items->n) return true;
        *out = *items->items++;
        items->n--;
        items->capacity = items->n;
        return true;
    }
    if (!hybrid__jinja_items(j, c->self, &items)) return false;
    *out = items->n ? items->items[c->name[0] == 'f' ? 0 : items->n - 1] : hybrid__jundefined(NULL, false);
    return true;
}
static bool hybrid__jf_reverse(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jvalue none = hybrid__jnone();
    const char *label = "reversed object";
    bool iterator = c->self.type == HYBRID__J_LIST && c->self.u.list->kind == HYBRID__J_ITERATOR;
    if (c->self.type == HYBRID__J_STRING) return hybrid__jinja_slice(j, c->self, none, none, hybrid__jint(-1), false, out);
    if (c->self.type == HYBRID__J_DICT) label = "dict_reversekeyiterator object";
    if (c->self.type == HYBRID__J_LIST) {
        static const char *const labels[] = { "list_reverseiterator object", "reversed object", "range_iterator object", "", "" };
        label = c->self.u.list->kind != HYBRID__J_VIEW ? labels[c->self.u.list->kind] : !strcmp(c->self.u.list->label, "dict_keys") ? "dict_reversekeyiterator object"
            : !strcmp(c->self.u.list->label, "dict_items") ? "dict_reverseitemiterator object" : "dict_reversevalueiterator object";
    }
    if (!hybrid__jf_list(j, c, out) || !hybrid__jinja_slice(j, *out, none, none, hybrid__jint(-1), false, out)) return false;
    out->u.list->kind = iterator ? HYBRID__J_PLAIN : hybrid__jlazy(j);    /* what cannot be walked backwards becomes a list */
    out->u.list->label = iterator ? NULL : label;
    return true;
}
static bool hybrid__jf_items(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (c->self.type == HYBRID__J_UNDEFINED) return hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out);
    if (c->self.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "items expects a dict, not a %s", hybrid__jtype_name(c->self));
    return hybrid__jinja_dict_view(j, c->self.u.dict, 'i', HYBRID__J_PLAIN, out);
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
    size_t i;
    bool by_value = c->a[1].type == HYBRID__J_STRING && hybrid__jstring_is(c->a[1].u.s, "value");
    if (c->self.type != HYBRID__J_DICT) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "dictsort expects a dict, not a %s", hybrid__jtype_name(c->self));
    for (i = 0; i < c->self.u.dict->n && c->self.u.dict->n > 1; i++) {
        const hybrid__jentry *e = &c->self.u.dict->entries[i];
        if (!hybrid__jinja_has_order(j, by_value ? e->value : e->key)) return false;
    }
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
        if (items->n > 1 && !hybrid__jinja_has_order(j, key)) return false;
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
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &seen)) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
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
        if (sorted.u.list->n > 1 && !hybrid__jinja_has_order(j, key)) return false;
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
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_want_int(j, c->name, c->a[0], 0, &n) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
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
    if (!hybrid__jtruth(c->self)) return hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out);    /* None, 0: not even looked at */
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_new_list(j, items->n, HYBRID__J_PLAIN, out)) return false;
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
    if (!hybrid__jtruth(c->self)) return hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out);
    if (!hybrid__jinja_items(j, c->self, &items) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue v = items->items[i];
        if (by_attribute && !hybrid__jinja_path(j, v, c->args->v[0], &v)) return false;
        yes = hybrid__jtruth(v);
        if (name && !hybrid__jinja_test(j, name, v, &rest, &yes)) return false;
        if (yes == keep && !hybrid__jinja_push(j, *out, items->items[i])) return false;
    }
    return true;
}

/* Filters that are generators in Python: nothing is computed, nor wrong, before somebody looks. */
static const hybrid__jbuiltin hybrid__jgenerators[] = {
    { "map", "*", 0, hybrid__jf_map }, { "select", "*", 0, hybrid__jf_select }, { "reject", "*", 0, hybrid__jf_select },
    { "selectattr", "*", 0, hybrid__jf_select }, { "rejectattr", "*", 0, hybrid__jf_select }, { "items", "", 0, hybrid__jf_items },
    { "unique", "case_sensitive attribute", 0, hybrid__jf_unique }, { "batch", "linecount fill_with", 1, hybrid__jf_batch },
    { "slice", "slices fill_with", 1, hybrid__jf_batch }
};
static bool hybrid__jf_generator(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    static const char *const labels[] = { "generator object sync_do_map", "generator object select_or_reject", "generator object select_or_reject",
        "generator object select_or_reject", "generator object select_or_reject", "generator object do_items", "generator object sync_do_unique",
        "generator object do_batch", "generator object sync_do_slice" };
    const hybrid__jbuiltin *f = hybrid__jbuiltin_find(hybrid__jgenerators, HYBRID__COUNT(hybrid__jgenerators), c->name, strlen(c->name));
    return hybrid__jinja_later(j, f, c, labels[f - hybrid__jgenerators], out);
}

static const hybrid__jbuiltin hybrid__jfilters[] = {
    { "abs", "", 0, hybrid__jf_abs }, { "attr", "name", 1, hybrid__jf_attr }, { "batch", "linecount fill_with", 1, hybrid__jf_generator },
    { "capitalize", "", 0, hybrid__jf_case }, { "center", "width", 0, hybrid__jf_center }, { "count", "", 0, hybrid__jf_length },
    { "d", "default_value boolean", 0, hybrid__jf_default }, { "default", "default_value boolean", 0, hybrid__jf_default },
    { "dictsort", "case_sensitive by reverse", 0, hybrid__jf_dictsort }, { "e", "", 0, hybrid__jf_escape }, { "escape", "", 0, hybrid__jf_escape },
    { "first", "", 0, hybrid__jf_first }, { "float", "default", 0, hybrid__jf_float }, { "forceescape", "", 0, hybrid__jf_escape },
    { "format", "*", 0, hybrid__jf_format }, { "groupby", "attribute default case_sensitive", 1, hybrid__jf_groupby },
    { "indent", "width first blank", 0, hybrid__jf_indent }, { "int", "default base", 0, hybrid__jf_int }, { "items", "", 0, hybrid__jf_generator },
    { "join", "d attribute", 0, hybrid__jf_join }, { "last", "", 0, hybrid__jf_first }, { "length", "", 0, hybrid__jf_length },
    { "list", "", 0, hybrid__jf_list }, { "lower", "", 0, hybrid__jf_case }, { "map", "*", 0, hybrid__jf_generator },
    { "max", "case_sensitive attribute", 0, hybrid__jf_minmax }, { "min", "case_sensitive attribute", 0, hybrid__jf_minmax },
    { "pprint", "", 0, hybrid__jf_pprint }, { "reject", "*", 0, hybrid__jf_generator }, { "rejectattr", "*", 0, hybrid__jf_generator },
    { "replace", "old new count", 2, hybrid__jf_replace }, { "reverse", "", 0, hybrid__jf_reverse }, { "round", "precision method", 0, hybrid__jf_round },
    { "safe", "", 0, hybrid__jf_safe }, { "select", "*", 0, hybrid__jf_generator }, { "selectattr", "*", 0, hybrid__jf_generator },
    { "slice", "slices fill_with", 1, hybrid__jf_generator }, { "sort", "reverse case_sensitive attribute", 0, hybrid__jf_sort },
    { "string", "", 0, hybrid__jf_string }, { "sum", "attribute start", 0, hybrid__jf_sum }, { "title", "", 0, hybrid__jf_title },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, hybrid__jf_tojson }, { "trim", "chars", 0, hybrid__jf_trim },
    { "truncate", "length killwords end leeway", 0, hybrid__jf_truncate }, { "unique", "case_sensitive attribute", 0, hybrid__jf_generator },
    { "upper", "", 0, hybrid__jf_case }, { "urlencode", "", 0, hybrid__jf_urlencode }, { "wordcount", "", 0, hybrid__jf_wordcount }
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
