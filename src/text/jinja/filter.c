/* text/jinja/filter: what stands behind '|'. */
#ifndef HYB_TEXT_JINJA_FILTER_C
#define HYB_TEXT_JINJA_FILTER_C
#include "ops.c"

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

/* ---- text -------------------------------------------------------------------------------------------------------- */

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

/* What is no letter, digit, or one of "_.-~" as %XX of its bytes; in a query '/' too, and blanks become '+'. */
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

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* An integer beyond 64 bits with the other sign, or without. */
static bool hyb_jinja_big_sign(hyb_jinja *j, hyb_jvalue v, bool plus, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    bool minus = v.u.s->p[0] == '-';
    if ((!minus && !plus && !hyb_jinja_put(j, &b, "-", 1)) ||
        !hyb_jinja_put(j, &b, v.u.s->p + minus, v.u.s->n - minus) || !hyb_jinja_text(j, &b, out))
        return false;
    out->type = HYB_J_BIG;
    return true;
}

static bool hyb_jf_abs(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (c->self.type == HYB_J_BIG) return hyb_jinja_big_sign(j, c->self, true, out);
    if (!hyb_jis_number(c->self))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "abs expects a number, not a %s", hyb_jtype_name(c->self));
    if (c->self.type == HYB_J_FLOAT) {
        *out = hyb_jfloat(fabs(c->self.u.d));
        return true;
    }
    if (hyb_jwhole(c->self) == INT64_MIN) return hyb_jinja_overflow(j);
    *out = hyb_jint(hyb_jwhole(c->self) < 0 ? -hyb_jwhole(c->self) : hyb_jwhole(c->self));
    return true;
}

/* As Python's float(text): false when it is none (or j->result is set). Digits of any script, single underscores
 * between them. */
static bool hyb_jparse_real(hyb_jinja *j, const hyb_jstring *s, double *v)
{
    static const char *const words[] = { "inf", "infinity", "nan" };
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    bool minus, digit = false;
    size_t used, i, k;
    uint32_t code;
    hyb_jtrim(&p, &end, true, true);
    minus = p < end && *p == '-';
    if (p < end && (*p == '+' || *p == '-')) p++;
    while (p < end) {
        size_t n = hyb_utf8_next(p, end, &code);
        int d = hyb_jdecimal(code);
        char one = (char)(d >= 0 ? '0' + d : code < 0x80 ? (int)code : '?');
        p += n;
        if (one == '_' && digit && p < end) {
            hyb_utf8_next(p, end, &code);
            if (hyb_jdecimal(code) >= 0) {
                digit = false;
                continue;
            }
        }
        digit = d >= 0;
        if (!hyb_jinja_put(j, &b, &one, 1)) return false;
    }
    if (!b.size || *b.data == '-' || *b.data == '+') return false;
    for (i = 0; i < HYB_COUNT(words); i++) {
        for (k = 0; k < b.size && words[i][k] && (b.data[k] | 32) == words[i][k]; k++) {}
        if (k < b.size || words[i][k]) continue;
        *v = i < 2 ? HUGE_VAL : HUGE_VAL - HUGE_VAL;
        if (minus) *v = -*v;
        return true;
    }
    if (b.size >= 2 && *b.data == '.' && !hyb_is_digit(b.data[1])) return false;
    used = hyb_decimal_read(b.data, b.data + b.size, v);
    if (used && used < b.size && b.data[used] == '.' && !memchr(b.data, '.', used)) { /* "1." and "1.e5" */
        double scale;
        size_t more;
        if (used + 1 == b.size)
            used++;
        else if ((b.data[used + 1] | 32) == 'e' && !memchr(b.data, 'e', used) && !memchr(b.data, 'E', used)) {
            memmove(b.data + used, b.data + used + 1, b.size - used - 1);
            b.size--;
            more = hyb_decimal_read(b.data, b.data + b.size, &scale);
            if (more == b.size) {
                used = more;
                *v = scale;
            }
        }
    }
    if (minus) *v = -*v;
    return used && used == b.size;
}
/* As Python's int(text, base). 64 bits, or *big: it is more. */
static bool hyb_jparse_int(const hyb_jstring *s, int64_t base, int64_t *v, bool *big)
{
    const char *p = s->p, *end = p + s->n;
    bool minus, any = false, zero;
    uint32_t code;
    size_t n;
    *big = false;
    hyb_jtrim(&p, &end, true, true);
    minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    zero = end - p > 2 && p[0] == '0';
    if (zero && (p[1] | 32) == 'x' && (base == 16 || !base)) {
        base = 16;
        p += 2;
        any = true;
    } else if (zero && (p[1] | 32) == 'o' && (base == 8 || !base)) {
        base = 8;
        p += 2;
        any = true;
    } else if (zero && (p[1] | 32) == 'b' && (base == 2 || !base)) {
        base = 2;
        p += 2;
        any = true;
    }
    if (any && *p != '_') any = false; /* 0x_1 */
    if (!base) {
        base = 10;
        if (end - p > 1 && *p == '0' && strspn(p, "0_") < (size_t)(end - p)) return false;
    }
    for (*v = 0; p < end; p += n) {
        int d;
        n = hyb_utf8_next(p, end, &code);
        if (code == '_' && any && p + 1 < end) {
            any = false;
            continue;
        }
        d = hyb_jdecimal(code);
        if (d < 0) d = code < 0x80 && (code | 32) >= 'a' && (code | 32) <= 'z' ? (int)(code | 32) - 'a' + 10 : 99;
        if (d >= base) return false;
        any = true;
        if (*big) continue;
        if (!hyb_jmul(*v, base, v) || *v < INT64_MIN + d)
            *big = true;
        else
            *v -= d; /* negative: it reaches further */
    }
    if (!any) return false;
    if (!minus && *v == INT64_MIN) *big = true;
    if (!minus && !*big) *v = -*v;
    return true;
}

/* The digits of a text that is an integer beyond 64 bits; in other bases than ten that is a limit. */
static bool hyb_jinja_big(hyb_jinja *j, const hyb_jstring *s, int64_t base, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    uint32_t code;
    int d;
    if (base && base != 10) return hyb_jinja_overflow(j);
    hyb_jtrim(&p, &end, true, true);
    if (*p == '-' && !hyb_jinja_put(j, &b, "-", 1)) return false;
    if (*p == '-' || *p == '+') p++;
    while (p < end) {
        char one;
        p += hyb_utf8_next(p, end, &code);
        if (code == '_') continue;
        if ((d = hyb_jdecimal(code)) < 0) return hyb_jinja_overflow(j); /* 0x... */
        one = (char)('0' + d);
        if ((d || b.size > (b.size && *b.data == '-')) && !hyb_jinja_put(j, &b, &one, 1)) return false;
    }
    if (!hyb_jinja_text(j, &b, out)) return false;
    out->type = HYB_J_BIG;
    return true;
}

static bool hyb_jf_int(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    int64_t base, v;
    bool big;
    double d = 0;
    if (!hyb_jinja_want_int(j, c->name, c->a[1], 10, &base)) return false;
    if (c->self.type == HYB_J_BIG) {
        *out = c->self;
        return true;
    }
    if (base < 0 || base == 1 || base > 36)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "int: the base must be 2..36");
    *out = c->a[0].type == HYB_J_MISSING ? hyb_jint(0) : c->a[0];
    if (hyb_jis_whole(c->self)) {
        *out = hyb_jint(hyb_jwhole(c->self));
        return true;
    }
    if (c->self.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, c->self);
    if (c->self.type == HYB_J_STRING && hyb_jparse_int(c->self.u.s, base, &v, &big)) {
        *out = hyb_jint(v);
        return !big || hyb_jinja_big(j, c->self.u.s, base, out);
    }
    if (c->self.type == HYB_J_FLOAT)
        d = c->self.u.d;
    else if (c->self.type != HYB_J_STRING || !hyb_jparse_real(j, c->self.u.s, &d))
        return !j->result;
    if (d - d == 0) return hyb_jinja_whole_of(j, d, out);
    if (c->self.type == HYB_J_FLOAT && d == d) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "int: inf is no integer");
    return true; /* the default */
}
static bool hyb_jf_float(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    double d;
    *out = c->a[0].type == HYB_J_MISSING ? hyb_jfloat(0) : c->a[0];
    if (c->self.type == HYB_J_UNDEFINED) return hyb_jinja_undefined(j, c->self);
    if (hyb_jis_number(c->self))
        *out = hyb_jfloat(hyb_jreal(c->self));
    else if (c->self.type == HYB_J_STRING && hyb_jparse_real(j, c->self.u.s, &d))
        *out = hyb_jfloat(d);
    else if (c->self.type == HYB_J_BIG && hyb_decimal_read(c->self.u.s->p, c->self.u.s->p + c->self.u.s->n, &d))
        *out = hyb_jfloat(d);
    return !j->result;
}

/* A number rounded to a multiple of 10^places, places > 0, half to even, by its exact value; its type stays. */
static bool hyb_jinja_round_places(hyb_jinja *j, hyb_jvalue v, size_t places, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jvalue text = v;
    bool minus, rest = false, big, real = v.type == HYB_J_FLOAT;
    int64_t whole;
    char *p;
    size_t i, n;
    *out = v;
    if (real && v.u.d - v.u.d != 0) return true;
    minus = real && signbit(v.u.d);
    if (real && !hyb_jinja_whole_of(j, fabs(v.u.d), &text)) return false;
    if (real) rest = floor(v.u.d) != v.u.d;
    if (hyb_jis_whole(text)) text = hyb_jint(hyb_jwhole(text));
    if (!hyb_jinja_put(j, &b, "0", 1) || !hyb_jinja_str(j, &b, text)) return false;
    p = b.data;
    n = b.size;
    if (n > 1 && p[1] == '-') {
        p[1] = '0';
        minus = true;
    }
    for (i = HYB_MIN(n, places - 1); i > 0; i--) {
        rest = rest || p[n - i] != '0';
        p[n - i] = '0';
    }
    if (n > places) {
        bool up = p[n - places] > '5' || (p[n - places] == '5' && (rest || (p[n - places - 1] & 1)));
        p[n - places] = '0';
        for (i = n - places - 1; up; i--) {
            up = p[i] == '9';
            p[i] = (char)(up ? '0' : p[i] + 1);
        }
    } else
        memset(p, '0', n);
    if (real) {
        hyb_decimal_read(p, p + n, &v.u.d);
        *out = hyb_jfloat(minus ? -v.u.d : v.u.d);
        return true;
    }
    for (i = 0; i + 1 < n && p[i] == '0'; i++) {}
    if (minus && p[i] != '0') p[--i] = '-';
    if (!hyb_jinja_check(j, hyb_jstring_copy(&j->arena, p + i, n - i, &text))) return false;
    *out = text;
    out->type = HYB_J_BIG;
    if (!hyb_jparse_int(text.u.s, 10, &whole, &big)) return false;
    if (!big) *out = hyb_jint(whole);
    return true;
}

static bool hyb_jf_round(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jvalue common;
    hyb_jstring *method;
    int64_t digits;
    double d, scale;
    size_t n;
    char text[400];
    if (!hyb_jis_number(c->self) && c->self.type != HYB_J_BIG)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "round expects a number, not a %s", hyb_jtype_name(c->self));
    if (!hyb_jinja_want_int(j, c->name, c->a[0], 0, &digits) || !hyb_jinja_view(j, "common", 6, &common) ||
        !hyb_jinja_want_string(j, c->name, c->a[1].type == HYB_J_MISSING ? common : c->a[1], &method))
        return false;
    if (digits < -300 || digits > 40)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the precision must be -300..40");
    d = hyb_jbig_real(c->self);
    if (hyb_jstring_is(method, "common")) {
        if (digits < 0) return hyb_jinja_round_places(j, c->self, (size_t)-digits, out);
        *out = hyb_jis_whole(c->self) ? hyb_jint(hyb_jwhole(c->self)) : c->self;
        if (c->self.type != HYB_J_FLOAT) return true;
        n = hyb_jformat_real(d, 'f', (int)digits, false, text);
        hyb_decimal_read(text, text + n, &d); /* by its exact decimal value */
        *out = hyb_jfloat(d);
        return true;
    }
    if (!hyb_jstring_is(method, "ceil") && !hyb_jstring_is(method, "floor"))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "round: the method must be common, ceil or floor");
    scale = pow(10, (double)digits);
    if (c->self.type != HYB_J_FLOAT && digits >= 0) {
        *out = hyb_jfloat(d);
        return true;
    }
    if (d * scale - d * scale != 0) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "round: inf and nan are no integers");
    d = hyb_jstring_is(method, "ceil") ? ceil(d * scale) : floor(d * scale);
    *out = hyb_jfloat((d + 0.0) / scale); /* no -0 */
    return true;
}

static bool hyb_jf_sum(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jlist *items;
    size_t i;
    if (!hyb_jinja_items(j, c->self, &items)) return false;
    *out = c->a[1].type == HYB_J_MISSING ? hyb_jint(0) : c->a[1];
    for (i = 0; i < items->n; i++) {
        hyb_jvalue v;
        if (!hyb_jinja_sort_key(j, items->items[i], c->a[0], true, &v) || !hyb_jinja_binary(j, HYB_J_ADD, *out, v, out))
            return false;
    }
    return true;
}

/* ---- any value --------------------------------------------------------------------------------------------------- */

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
/* ---- pprint: as Python's pprint.pformat, 80 columns wide --------------------------------------------------------- */

/* A copy of v whose dicts are in the order of their keys; dicts with keys of several types stay as they are. */
static bool hyb_jinja_sorted_dicts(hyb_jinja *j, hyb_jvalue v, hyb_jvalue *out)
{
    hyb_jlist *keys = NULL;
    hyb_jvalue one;
    bool strings = true, numbers = true, ok = true;
    size_t i;
    *out = v;
    if (v.type != HYB_J_DICT && (v.type != HYB_J_LIST || v.u.list->kind > HYB_J_TUPLE)) return true;
    if (!hyb_jinja_enter(j)) return false;
    if (v.type == HYB_J_LIST) {
        ok = hyb_jinja_new_list(j, v.u.list->n, v.u.list->kind, out);
        for (i = 0; ok && i < v.u.list->n; i++)
            ok = hyb_jinja_sorted_dicts(j, v.u.list->items[i], &one) && hyb_jinja_push(j, *out, one);
    } else {
        for (i = 0; i < v.u.dict->n; i++) {
            strings = strings && v.u.dict->entries[i].key.type == HYB_J_STRING;
            numbers = numbers && hyb_jis_number(v.u.dict->entries[i].key);
        }
        ok = (!(strings || numbers) || hyb_jinja_sort_keys(j, v.u.dict, &keys)) &&
             hyb_jinja_check(j, hyb_jdict_new(&j->arena, out));
        for (i = 0; ok && i < v.u.dict->n; i++) {
            hyb_jvalue key = keys ? keys->items[i] : v.u.dict->entries[i].key;
            const hyb_jentry *e = hyb_jdict_find(&j->arena, v.u.dict, key);
            ok = e ? hyb_jinja_sorted_dicts(j, e->value, &one) : hyb_jinja_spent(j);
            ok = ok && hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, key, one));
        }
    }
    j->depth++;
    return ok;
}

/* repr(v), and its length in characters. */
static bool hyb_jinja_repr_length(hyb_jinja *j, hyb_jvalue v, hyb_jvalue *text, int64_t *n)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    if (!hyb_jinja_repr(j, &b, v) || !hyb_jinja_text(j, &b, text)) return false;
    *n = (int64_t)hyb_jstring_chars(&j->arena, text->u.s);
    return true;
}

static bool hyb_jinja_pretty_break(hyb_jinja *j, hyb_jbuffer *b, int64_t indent)
{
    if (!hyb_jinja_put(j, b, "\n", 1)) return false;
    for (; indent > 0; indent--)
        if (!hyb_jinja_put(j, b, " ", 1)) return false;
    return true;
}

/* A long text as several, broken at line ends and after blanks. chunks: their reprs. */
static bool hyb_jinja_pretty_chunks(hyb_jinja *j, const hyb_jstring *s, int64_t width, int64_t allowance,
                                    hyb_jvalue chunks)
{
    const char *p, *end = s->p + s->n, *next, *q, *from;
    hyb_jvalue piece, text;
    uint32_t code;
    int64_t n;
    for (p = s->p; p < end; p = next) {
        hyb_jline_end(p, end, &next);
        if (!hyb_jinja_view(j, p, (size_t)(next - p), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n))
            return false;
        if (n <= width - (next == end ? allowance : 0)) {
            if (!hyb_jinja_push(j, chunks, text)) return false;
            continue;
        }
        for (from = q = p; q < next;) { /* [from, q) is what fits so far */
            const char *r = q;
            size_t used;
            while (r < next && (used = hyb_utf8_next(r, next, &code)) != 0 && !hyb_jspace(code)) r += used;
            while (r < next && (used = hyb_utf8_next(r, next, &code)) != 0 && hyb_jspace(code)) r += used;
            if (!hyb_jinja_view(j, from, (size_t)(r - from), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n))
                return false;
            if (n > width - (r == end ? allowance : 0) && q > from) {
                if (!hyb_jinja_view(j, from, (size_t)(q - from), &piece) ||
                    !hyb_jinja_repr_length(j, piece, &text, &n) || !hyb_jinja_push(j, chunks, text))
                    return false;
                from = q;
            }
            q = r;
        }
        if (!hyb_jinja_view(j, from, (size_t)(q - from), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n) ||
            !hyb_jinja_push(j, chunks, text))
            return false;
    }
    return true;
}
static bool hyb_jinja_pretty_text(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, hyb_jvalue repr, int64_t indent,
                                  int64_t allowance, bool top)
{
    hyb_jvalue chunks;
    const hyb_jlist *l;
    size_t i;
    indent += top;
    if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, &chunks) ||
        !hyb_jinja_pretty_chunks(j, v.u.s, 80 - indent, allowance + top, chunks))
        return false;
    l = chunks.u.list;
    if (l->n < 2) return hyb_jinja_put(j, b, repr.u.s->p, repr.u.s->n);
    if (top && !hyb_jinja_put(j, b, "(", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hyb_jinja_pretty_break(j, b, indent)) ||
            !hyb_jinja_put(j, b, l->items[i].u.s->p, l->items[i].u.s->n))
            return false;
    return !top || hyb_jinja_put(j, b, ")", 1);
}

static bool hyb_jinja_pretty(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance, bool top);

static bool hyb_jinja_pretty_items(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance)
{
    bool dict = v.type == HYB_J_DICT, tuple = !dict && v.u.list->kind == HYB_J_TUPLE;
    size_t n = dict ? v.u.dict->n : v.u.list->n, i;
    const char *close = dict ? "}" : !tuple ? "]" : n == 1 ? ",)" : ")";
    int64_t width;
    if (!hyb_jinja_put(j, b, dict ? "{" : tuple ? "(" : "[", 1)) return false;
    indent++;
    for (i = 0; i < n; i++) {
        hyb_jvalue key;
        if (i && (!hyb_jinja_put(j, b, ",", 1) || !hyb_jinja_pretty_break(j, b, indent))) return false;
        width = 0;
        if (dict) {
            if (!hyb_jinja_repr_length(j, v.u.dict->entries[i].key, &key, &width) ||
                !hyb_jinja_put(j, b, key.u.s->p, key.u.s->n) || !hyb_jinja_put(j, b, ": ", 2))
                return false;
            width += 2;
        }
        if (!hyb_jinja_pretty(j, b, dict ? v.u.dict->entries[i].value : v.u.list->items[i], indent + width,
                              i + 1 == n ? allowance + (int64_t)strlen(close) : 1, false))
            return false;
    }
    return hyb_jinja_puts(j, b, close);
}
/* What fits into its line stands there; else dicts, lists and long texts take several. */
static bool hyb_jinja_pretty(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance, bool top)
{
    hyb_jvalue text;
    int64_t n;
    bool ok;
    if (!hyb_jinja_repr_length(j, v, &text, &n) || !hyb_jinja_enter(j)) return false;
    if (n > 80 - indent - allowance &&
        (v.type == HYB_J_DICT ? v.u.dict->n > 0 : v.type == HYB_J_LIST && v.u.list->kind <= HYB_J_TUPLE && v.u.list->n))
        ok = hyb_jinja_pretty_items(j, b, v, indent, allowance);
    else if (n > 80 - indent - allowance && v.type == HYB_J_STRING && !v.mark && v.u.s->n)
        ok = hyb_jinja_pretty_text(j, b, v, text, indent, allowance, top);
    else
        ok = hyb_jinja_put(j, b, text.u.s->p, text.u.s->n);
    j->depth++;
    return ok;
}
static bool hyb_jf_pprint(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jvalue v;
    return hyb_jinja_sorted_dicts(j, c->self, &v) && hyb_jinja_pretty(j, &b, v, 0, 0, true) &&
           hyb_jinja_text(j, &b, out);
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

/* ---- sequences --------------------------------------------------------------------------------------------------- */

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

/* ---- filters and tests that take the name of another one --------------------------------------------------------- */

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
