/* text/jinja/format: values made into text by a pattern: 'a %d' % x, 'a {}'.format(x). */
#ifndef HYB_TEXT_JINJA_FORMAT_C
#define HYB_TEXT_JINJA_FORMAT_C
#include "string.c"

/* v by a conversion of printf (f, e, g), with a decimal point whatever the locale says. precision -1 - n: as g with n,
 * but with a digit after the point, and with an exponent one place earlier (what format() does when it has no type).
 * alternate: the point is always there. */
static size_t hyb_jformat_real(double v, char conversion, int precision, bool alternate, char out[400])
{
    char raw[400];
    size_t n = 0, i;
    bool other = false, point = false, bare = precision < 0;
    if (bare) precision = -1 - precision;
    if (bare && v - v == 0) {
        const char *exponent;
        snprintf(raw, sizeof raw, "%.*e", precision - 1, v);
        if ((exponent = strchr(raw, 'e')) != NULL && atoi(exponent + 1) == precision - 1) conversion = 'e';
        precision -= conversion == 'e';
    }
    switch (conversion) {
    case 'e': snprintf(raw, sizeof raw, alternate ? "%#.*e" : "%.*e", precision, v); break;
    case 'E': snprintf(raw, sizeof raw, alternate ? "%#.*E" : "%.*E", precision, v); break;
    case 'g': snprintf(raw, sizeof raw, alternate ? "%#.*g" : "%.*g", precision, v); break;
    case 'G': snprintf(raw, sizeof raw, alternate ? "%#.*G" : "%.*G", precision, v); break;
    default: snprintf(raw, sizeof raw, alternate ? "%#.*f" : "%.*f", precision, v); break;
    }
    for (i = 0; raw[i]; i++) {
        char c = raw[i];
        bool known = hyb_is_digit(c) || c == '-' || c == '+' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (c == 'e' && bare && conversion == 'e' && !alternate) {
            while (point && n > 1 && (out[n - 1] == '0' || out[n - 1] == '.')) point = out[--n] != '.';
        }
        point = point || !known || c == 'e' || c == 'n' || c == 'i';
        if (known)
            out[n++] = c;
        else if (!other)
            out[n++] = '.';
        other = !known;
    }
    if (bare && !point) {
        out[n++] = '.';
        out[n++] = '0';
    }
    out[n] = 0;
    return n;
}

/* A finite float without its fraction, as an integer of any size. */
static bool hyb_jinja_whole_of(hyb_jinja *j, double d, hyb_jvalue *out)
{
    char digits[400];
    size_t n;
    if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
        *out = hyb_jint((int64_t)d);
        return true;
    }
    n = hyb_jformat_real(d, 'f', 0, false, digits);
    if (!hyb_jinja_check(j, hyb_jstring_copy(&j->arena, digits, n, out))) return false;
    out->type = HYB_J_BIG;
    return true;
}

/* A specification of a field: [[fill]align][sign][z][#][0][width][, or _][.precision][type]. */
typedef struct hyb_jspec {
    char fill[4];
    size_t n_fill;
    char align, sign, type, group;  /* 0: not given */
    bool alternate, zero, no_minus; /* no_minus: z, no minus before zero */
    bool strict;                    /* of format(): what means nothing for a type is an error; % is lax */
    int64_t width, precision;       /* precision -1: not given */
} hyb_jspec;

/* Text in a field. align: '<', '>', '^', or '=': the padding comes after the first n_sign bytes. */
static bool hyb_jinja_field(hyb_jinja *j, hyb_jbuffer *b, const hyb_jspec *f, const char *p, size_t n, size_t n_sign)
{
    hyb_jstring s;
    int64_t room, left;
    s.p = p;
    s.n = n;
    s.chars = SIZE_MAX;
    s.buffer = NULL;
    room = f->width - (int64_t)hyb_jstring_chars(&j->arena, &s);
    if (room < 0) room = 0;
    if (f->align == '=') {
        if (!hyb_jinja_put(j, b, p, n_sign)) return false;
        p += n_sign;
        n -= n_sign;
    }
    left = f->align == '<' ? 0 : f->align == '^' ? room / 2 : room;
    if (!hyb_jarena_work(&j->arena, (uint64_t)room)) return hyb_jinja_spent(j);
    for (room -= left; left > 0; left--)
        if (!hyb_jinja_put(j, b, f->fill, f->n_fill)) return false;
    if (!hyb_jinja_put(j, b, p, n)) return false;
    for (; room > 0; room--)
        if (!hyb_jinja_put(j, b, f->fill, f->n_fill)) return false;
    return true;
}

/* A number in a field: sign and prefix, digits in groups, and what follows them (a fraction). Zeros that fill are
 * grouped too. */
static bool hyb_jinja_number(hyb_jinja *j, hyb_jbuffer *b, const hyb_jspec *f, const char *head, const char *digits,
                             size_t n, const char *tail)
{
    enum { MOST = 1500 };
    hyb_jbuffer whole = { NULL, 0, 0 };
    size_t size = f->group && f->type && strchr("bxXo", f->type) ? 4 : 3, n_head = strlen(head), n_tail = strlen(tail),
           i, want = n;
    bool fill = f->align == '=' && f->n_fill == 1 && *f->fill == '0';
    if (f->group && fill) {
        while (n_head + n_tail + want + (want - 1) / size < (size_t)f->width) want++;
    }
    if (want > n + MOST && !hyb_jarena_work(&j->arena, want)) return hyb_jinja_spent(j);
    if (!hyb_jinja_put(j, &whole, head, n_head)) return false;
    for (i = want; i > 0; i--) {
        if (!hyb_jinja_put(j, &whole, i > n ? "0" : digits + n - i, 1)) return false;
        if (f->group && i > 1 && (i - 1) % size == 0 && !hyb_jinja_put(j, &whole, &f->group, 1)) return false;
    }
    return hyb_jinja_put(j, &whole, tail, n_tail) && hyb_jinja_field(j, b, f, whole.data, whole.size, n_head);
}

/* An integer. */
static bool hyb_jinja_format_int(hyb_jinja *j, hyb_jbuffer *b, const hyb_jspec *f, int64_t v)
{
    const char *digits = f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = f->type == 'x' || f->type == 'X' ? 16 : f->type == 'o' ? 8 : f->type == 'b' ? 2 : 10;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char reversed[70], head[8], made[1100];
    size_t n = 0, m = 0, i, digits_least = !f->strict && f->precision > 0 ? (size_t)HYB_MIN(f->precision, 1000) : 1;
    if (f->type == 'c') {
        if (f->strict && (f->sign || f->alternate || f->group))
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the format c takes no sign, '#' or ','");
        if (v < 0 || v > 0x10FFFF)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the format c expects a character's number");
        return hyb_jinja_field(j, b, f, made, hyb_utf8_write((uint32_t)v, made), 0);
    }
    do reversed[n++] = digits[u % base];
    while (u /= base);
    for (i = n; i < digits_least; i++) made[i - n] = '0';
    for (i = digits_least > n ? digits_least - n : 0; n > 0;) made[i++] = reversed[--n];
    if (v < 0)
        head[m++] = '-';
    else if (f->sign == '+' || f->sign == ' ')
        head[m++] = f->sign;
    if (f->alternate && base != 10) {
        head[m++] = '0';
        head[m++] = f->type;
    }
    head[m] = 0;
    return hyb_jinja_number(j, b, f, head, made, i, "");
}

/* A double by e, f, g, %, or (type 0) as it is written. */
static bool hyb_jinja_format_real(hyb_jinja *j, hyb_jbuffer *b, hyb_jspec *f, double v)
{
    char text[440], head[2], type = f->type;
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    size_t n, whole;
    if (type == '%') v *= 100;
    if (!type && f->precision < 0) {
        n = hyb_decimal_write(v, text);
        text[n] = 0;
    } else {
        char c = type == '%' || type == 'F' ? 'f' : type == 'n' || !type ? 'g' : type;
        if (!precision && (c == 'g' || c == 'G')) precision = 1;
        n = hyb_jformat_real(v, c, !type ? -1 - precision : precision, f->alternate, text);
    }
    if (type == 'F' || type == 'E' || type == 'G')
        for (whole = 0; whole < n; whole++)
            if (text[whole] >= 'a' && text[whole] <= 'z') text[whole] ^= 32;
    if (type == '%') {
        text[n++] = '%';
        text[n] = 0;
    }
    head[0] = head[1] = 0;
    if (*text == '-') {
        memmove(text, text + 1, n--);
        head[0] = '-';
        if (f->no_minus && strspn(text, "0.%") == n) head[0] = 0;
    }
    if (!head[0] && (f->sign == '+' || f->sign == ' ')) head[0] = f->sign;
    whole = strspn(text, "0123456789");
    if (!whole) { /* inf, nan */
        memmove(text + strlen(head), text, n + 1);
        memcpy(text, head, strlen(head));
        return hyb_jinja_field(j, b, f, text, strlen(head) + n, strlen(head));
    }
    return hyb_jinja_number(j, b, f, head, text, whole, text + whole);
}

/* v of an integer type as one, or an error. */
static bool hyb_jinja_format_whole(hyb_jinja *j, const hyb_jspec *f, hyb_jvalue v, int64_t *whole)
{
    if (v.type == HYB_J_BIG)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "an integer beyond 64 bits is formatted in another base");
    if (!hyb_jis_whole(v))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the format %c expects an integer, not a %s", f->type,
                              hyb_jtype_name(v));
    *whole = hyb_jwhole(v);
    return true;
}

/* Text, cut to the precision. */
static bool hyb_jinja_format_text(hyb_jinja *j, hyb_jbuffer *b, hyb_jspec *f, hyb_jstring *s)
{
    size_t n = s->n;
    if (f->precision >= 0 && (uint64_t)f->precision < hyb_jstring_chars(&j->arena, s))
        n = hyb_jstring_at(&j->arena, s, (size_t)f->precision);
    if (!f->align) f->align = f->strict ? '<' : '>';
    return hyb_jinja_field(j, b, f, s->p, n, 0);
}

static bool hyb_jinja_format_checked(hyb_jinja *j, const hyb_jspec *f, bool whole)
{
    if (f->width > 100000 || f->precision > 60)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "a format asks for a width or precision that is too large");
    if (!f->strict) return true;
    if (whole && f->precision >= 0)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: an integer has no precision");
    if (f->group == ',' && f->type && strchr("bxXo", f->type))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: ',' does not go with '%c'", f->type);
    if (f->group && f->type == 'n')
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '%c' does not go with 'n'", f->group);
    return true;
}

/* One number by a specification. */
static bool hyb_jinja_format_number(hyb_jinja *j, hyb_jbuffer *b, hyb_jspec *f, hyb_jvalue v)
{
    int64_t whole = 0;
    if (!f->align) f->align = f->zero ? '=' : '>';
    if (f->zero && f->align == '=') {
        *f->fill = '0';
        f->n_fill = 1;
    }
    if (f->type ? strchr("dixXobcn", f->type) && !(f->type == 'n' && v.type == HYB_J_FLOAT) : v.type != HYB_J_FLOAT) {
        if (v.type == HYB_J_FLOAT && !f->strict && f->type == 'd') {
            if (v.u.d - v.u.d != 0) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%%d wants a finite number");
            if (!hyb_jinja_whole_of(j, v.u.d, &v)) return false;
        }
        if (v.type == HYB_J_BIG && (!f->type || f->type == 'd' || f->type == 'n')) {
            bool minus = v.u.s->p[0] == '-';
            char sign[2] = { 0, 0 };
            sign[0] = minus ? '-' : f->sign == '+' || f->sign == ' ' ? f->sign : (char)0;
            if (f->no_minus) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: 'z' is for floats");
            return hyb_jinja_format_checked(j, f, true) &&
                   hyb_jinja_number(j, b, f, sign, v.u.s->p + minus, v.u.s->n - minus, "");
        }
        return hyb_jinja_format_checked(j, f, true) &&
               (!f->no_minus || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: 'z' is for floats")) &&
               hyb_jinja_format_whole(j, f, v, &whole) && hyb_jinja_format_int(j, b, f, whole);
    }
    return hyb_jinja_format_checked(j, f, false) && hyb_jinja_format_real(j, b, f, hyb_jbig_real(v));
}

/* v by a specification of format(), as its type's __format__ does it. empty: nothing was specified: str(v). */
static bool hyb_jinja_format_value(hyb_jinja *j, hyb_jbuffer *b, hyb_jspec *f, bool empty, hyb_jvalue v)
{
    if (empty) return hyb_jinja_str(j, b, v);
    if (hyb_jis_number(v) || v.type == HYB_J_BIG) {
        if (f->type && !strchr("dxXobcneEfFgG%", f->type))
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '%c' is not for numbers", f->type);
        return hyb_jinja_format_number(j, b, f, v);
    }
    if (v.type != HYB_J_STRING)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: a %s takes no specification", hyb_jtype_name(v));
    if ((f->type && f->type != 's') || f->sign || f->alternate || f->group || f->align == '=' || f->no_minus)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: this specification is not for strings");
    if (f->width > 100000) return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "a format asks for a width that is too large");
    return hyb_jinja_format_text(j, b, f, v.u.s);
}

static void hyb_jspec_clear(hyb_jspec *f, bool strict)
{
    memset(f, 0, sizeof *f);
    f->fill[0] = ' ';
    f->n_fill = 1;
    f->strict = strict;
    f->precision = -1;
}
static const char *hyb_jspec_number(const char *p, const char *end, int64_t *v)
{
    for (*v = 0; p < end && hyb_is_digit(*p); p++)
        if (*v < 1000000) *v = *v * 10 + (*p - '0');
    return p;
}

/* ---- 'text' % values --------------------------------------------------------------------------------------------- */

/* Where a pattern stands: its values are a tuple, a dict for %(name)s, or one value. */
typedef struct hyb_jpercent {
    hyb_jvalue values;
    size_t used, n;
    bool safe, named;
} hyb_jpercent;

static bool hyb_jpercent_next(hyb_jinja *j, hyb_jpercent *c, hyb_jvalue *v)
{
    if (c->used >= c->n) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "there are fewer values than the format needs");
    *v = c->values.type == HYB_J_LIST && c->values.u.list->kind == HYB_J_TUPLE ? c->values.u.list->items[c->used]
                                                                               : c->values;
    c->used++;
    return true;
}

/* A number, or * for the next value. */
static bool hyb_jpercent_size(hyb_jinja *j, hyb_jpercent *c, const char **p, const char *end, int64_t *size)
{
    hyb_jvalue v;
    if (*p == end || **p != '*') {
        *p = hyb_jspec_number(*p, end, size);
        return true;
    }
    ++*p;
    if (!hyb_jpercent_next(j, c, &v)) return false;
    if (!hyb_jis_whole(v)) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "* wants an integer");
    *size = HYB_MAX(HYB_MIN(hyb_jwhole(v), (int64_t)1000000), (int64_t)-1000000);
    return true;
}

/* v by the type of f, as C and Python's % do it. */
static bool hyb_jpercent_value(hyb_jinja *j, hyb_jbuffer *b, hyb_jpercent *c, hyb_jspec *f, hyb_jvalue v)
{
    hyb_jbuffer repr = { NULL, 0, 0 };
    hyb_jvalue s;
    if (f->type == 's' || f->type == 'r' || f->type == 'a' || (f->type == 'c' && v.type == HYB_J_STRING)) {
        f->zero = false;
        if (f->type == 'c' && hyb_jstring_chars(&j->arena, v.u.s) != 1)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%%c wants one character");
        if (f->type == 'c') f->precision = -1;
        if (f->type == 'r' || f->type == 'a') {
            if (!hyb_jinja_repr_as(j, &repr, v, f->type == 'a') || !hyb_jinja_text(j, &repr, &s)) return false;
        } else if (!hyb_jinja_to_string(j, v, &s))
            return false;
        if (c->safe && !hyb_jinja_escape(j, f->type == 's' ? v : s, false, &s)) return false;
        return hyb_jinja_format_checked(j, f, false) && hyb_jinja_format_text(j, b, f, s.u.s);
    }
    if (!hyb_jis_number(v) && v.type != HYB_J_BIG)
        return v.type == HYB_J_UNDEFINED
                   ? hyb_jinja_undefined(j, v)
                   : hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the format %c expects a number, not a %s", f->type,
                                    hyb_jtype_name(v));
    return hyb_jinja_format_number(j, b, f, v);
}

/* What stands in the rooms below. */
static bool hyb_jinja_member(hyb_jinja *j, hyb_jvalue v, hyb_jvalue key, bool item, hyb_jvalue *out);

static bool hyb_jinja_percent(hyb_jinja *j, const hyb_jstring *pattern, bool safe, hyb_jvalue values, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jpercent c;
    const char *p = pattern->p, *end = p + pattern->n, *q;
    bool tuple = values.type == HYB_J_LIST && values.u.list->kind == HYB_J_TUPLE;
    c.values = values;
    c.used = 0;
    c.n = tuple ? values.u.list->n : 1;
    c.safe = safe;
    c.named = false;
    while (p < end) {
        hyb_jspec f;
        hyb_jvalue v = hyb_jnone();
        bool named = false;
        for (q = p; q < end && *q != '%'; q++) {}
        if (!hyb_jinja_put(j, &b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        hyb_jspec_clear(&f, false);
        if ((p = q + 1) < end && *p == '(') {
            hyb_jvalue key;
            const hyb_jentry *e;
            int depth = 1;
            for (q = ++p; q < end; q++) {
                depth += *q == '(' ? 1 : *q == ')' ? -1 : 0;
                if (!depth) break;
            }
            if (q == end || values.type != HYB_J_DICT)
                return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%%(name) needs a closing bracket and a dict");
            if (!hyb_jinja_view(j, p, (size_t)(q - p), &key)) return false;
            if (!(e = hyb_jdict_find(&j->arena, values.u.dict, key)))
                return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%%(%.*s): the dict has no such key",
                                      (int)HYB_MIN(q - p, 60), p);
            v = e->value;
            named = c.named = true;
            c.n = 0; /* there is nothing but names from here on */
            p = q + 1;
        }
        for (; p < end && *p && strchr("-+ 0#", *p); p++) {
            if (*p == '-')
                f.align = '<';
            else if (*p == '0')
                f.zero = true;
            else if (*p == '#')
                f.alternate = true;
            else if (f.sign != '+')
                f.sign = *p;
        }
        if (!hyb_jpercent_size(j, &c, &p, end, &f.width)) return false;
        if (f.width < 0) {
            f.align = '<';
            f.width = -f.width;
        }
        if (p < end && *p == '.') {
            p++;
            if (!hyb_jpercent_size(j, &c, &p, end, &f.precision)) return false;
            if (f.precision < 0) f.precision = 0;
        }
        if (p < end && strchr("hlL", *p) && *p) p++;
        if (p == end) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a format ends in the middle of a %%-sequence");
        f.type = *p == 'i' || *p == 'u' ? 'd' : *p;
        p++;
        if (f.type == '%' && p[-2] == '%') {
            if (!hyb_jinja_put(j, &b, "%", 1)) return false;
            continue;
        }
        if (!strchr("sradxXocfFeEgG", f.type))
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "there is no format character '%c'",
                                  f.type >= 32 ? f.type : '?');
        if (!named && !hyb_jpercent_next(j, &c, &v)) return false;
        if (!hyb_jpercent_value(j, &b, &c, &f, v)) return false;
    }
    if (c.used < c.n && !c.named &&
        (tuple || (values.type != HYB_J_DICT && (values.type != HYB_J_LIST || values.u.list->kind > HYB_J_RANGE) &&
                   values.type != HYB_J_UNDEFINED)))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "there are more values than the format needs");
    if (!hyb_jinja_text(j, &b, out)) return false;
    out->mark = safe;
    return true;
}

/* ---- '{}'.format(values) ----------------------------------------------------------------------------------------- */

/* A specification's text; empty when there is none. */
static bool hyb_jinja_spec(hyb_jinja *j, const char *p, const char *end, hyb_jspec *f)
{
    uint32_t code;
    size_t n;
    bool given = false;
    hyb_jspec_clear(f, true);
    n = p < end ? hyb_utf8_next(p, end, &code) : 0;
    if (n && p + n < end && p[n] && strchr("<>^=", p[n])) {
        memcpy(f->fill, p, n);
        f->n_fill = n;
        f->align = p[n];
        p += n + 1;
        given = true;
    } else if (p < end && *p && strchr("<>^=", *p))
        f->align = *p++;
    if (p < end && *p && strchr("+- ", *p)) f->sign = *p++;
    if (p < end && *p == 'z') {
        f->no_minus = true;
        p++;
    }
    if (p < end && *p == '#') {
        f->alternate = true;
        p++;
    }
    if (p < end && *p == '0') { /* fills, unless something else does */
        if (given)
            p++;
        else {
            f->zero = !f->align;
            *f->fill = '0';
            f->n_fill = 1;
            p++;
        }
    }
    p = hyb_jspec_number(p, end, &f->width);
    if (p < end && (*p == ',' || *p == '_')) f->group = *p++;
    if (p < end && *p == '.') {
        if (++p == end || !hyb_is_digit(*p))
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: the precision is missing");
        p = hyb_jspec_number(p, end, &f->precision);
    }
    if (p < end && *p && strchr("sdxXobcneEfFgG%", *p)) f->type = *p++;
    return p == end || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: this specification of a field is wrong");
}

/* The arguments of one call of format(): next counts fields without a name, -1 after one with a number. */
typedef struct hyb_jfields {
    const hyb_jargs *args;
    const hyb_jdict *map;
    int64_t next;
    bool safe;
} hyb_jfields;

/* name.attribute[index]... */
static bool hyb_jinja_field_value(hyb_jinja *j, hyb_jfields *c, const char *p, const char *end, hyb_jvalue *out)
{
    const char *q;
    int64_t index = 0;
    hyb_jvalue key;
    size_t i;
    for (q = p; q < end && *q != '.' && *q != '['; q++) {}
    out->type = HYB_J_MISSING;
    if (p == q || hyb_jspec_number(p, q, &index) == q) {
        if (p == q ? c->next < 0 : c->next > 0)
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: {} and {0} cannot be mixed");
        if (p == q)
            index = c->next++;
        else
            c->next = -1;
        if (c->args && (uint64_t)index < c->args->n) *out = c->args->v[index];
    } else {
        for (i = 0; c->args && i < c->args->n_named; i++)
            if (c->args->names[i]->n == (size_t)(q - p) && !memcmp(c->args->names[i]->p, p, (size_t)(q - p)))
                *out = c->args->named[i];
        if (c->map) {
            const hyb_jentry *e;
            if (!hyb_jinja_view(j, p, (size_t)(q - p), &key)) return false;
            if ((e = hyb_jdict_find(&j->arena, c->map, key)) != NULL) *out = e->value;
        }
    }
    if (out->type == HYB_J_MISSING)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: no argument for {%.*s}", (int)HYB_MIN(end - p, 60), p);
    for (p = q; p < end; p = q) {
        bool item = *p == '[';
        if (!item && *p != '.') return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: only '.' or '[' may follow ']'");
        for (q = ++p; q < end && (item ? *q != ']' : *q != '.' && *q != '['); q++) {}
        if (q == p || (item && q == end)) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: an empty attribute");
        if (!hyb_jinja_view(j, p, (size_t)(q - p), &key)) return false;
        if (item && hyb_jspec_number(p, q, &index) == q) key = hyb_jint(index);
        if (!hyb_jinja_member(j, *out, key, item, out)) return false;
        q += item;
    }
    return true;
}

/* {...} without its braces, p: after the first one. *after: after the last one. */
static bool hyb_jinja_format_one(hyb_jinja *j, hyb_jbuffer *b, hyb_jfields *c, const char *p, const char *end,
                                 int level, const char **after);

/* A pattern; a specification is one too, one level deeper. */
static bool hyb_jinja_format_text_of(hyb_jinja *j, hyb_jbuffer *b, hyb_jfields *c, const char *p, const char *end,
                                     int level)
{
    const char *q;
    while (p < end) {
        for (q = p; q < end && *q != '{' && *q != '}'; q++) {}
        if (!hyb_jinja_put(j, b, p, (size_t)(q - p))) return false;
        if (q == end) break;
        if (q + 1 < end && q[1] == *q) {
            if (!hyb_jinja_put(j, b, q, 1)) return false;
            p = q + 2;
            continue;
        }
        if (*q == '}') return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: a single '}'");
        if (!hyb_jinja_format_one(j, b, c, q + 1, end, level, &p)) return false;
    }
    return true;
}

static bool hyb_jinja_format_one(hyb_jinja *j, hyb_jbuffer *b, hyb_jfields *c, const char *p, const char *end,
                                 int level, const char **after)
{
    const char *name = p, *name_end, *q;
    hyb_jbuffer inner = { NULL, 0, 0 };
    hyb_jspec f;
    hyb_jvalue v = hyb_jnone();
    char conversion = 0;
    int depth = 1;
    bool item = false;
    if (level > 1) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: nested too deep");
    for (; p < end && (item || (*p != '}' && *p != ':' && *p != '!')); p++) {
        if (*p == '{' && !item) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '{' in a field's name");
        item = *p == '[' || (item && *p != ']');
    }
    name_end = p;
    if (p < end && *p == '!') {
        if (end - p < 3 || (p[2] != ':' && p[2] != '}'))
            return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '!' wants s, r or a");
        conversion = p[1];
        p += 2;
    }
    for (q = p; q < end; q++) {
        depth += *q == '{' ? 1 : *q == '}' ? -1 : 0;
        if (!depth) break;
    }
    if (q == end) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: '}' is missing");
    *after = q + 1;
    if (!hyb_jinja_field_value(j, c, name, name_end, &v)) return false;
    if (conversion && !strchr("sra", conversion))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: there is no conversion '!%c'", conversion);
    if (conversion == 's') {
        if (!hyb_jinja_to_string(j, v, &v)) return false;
        v.mark = 0;
    } else if (conversion) {
        if (!hyb_jinja_repr_as(j, &inner, v, conversion == 'a') || !hyb_jinja_text(j, &inner, &v)) return false;
        memset(&inner, 0, sizeof inner);
    }
    if (p < q && *p == ':' && !hyb_jinja_format_text_of(j, &inner, c, p + 1, q, level + 1)) return false;
    hyb_jspec_clear(&f, true);
    if (hyb_jis_safe(v) && c->safe) {
        if (inner.size) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format: safe text takes no specification");
        return hyb_jinja_put(j, b, v.u.s->p, v.u.s->n);
    }
    if (inner.size && !hyb_jinja_spec(j, inner.data, inner.data + inner.size, &f)) return false;
    if (!c->safe) return hyb_jinja_format_value(j, b, &f, !inner.size, v);
    memset(&inner, 0, sizeof inner);
    return hyb_jinja_format_value(j, &inner, &f,
                                  f.precision < 0 && !f.width && !f.type && !f.group && !f.sign && !f.align, v) &&
           hyb_jinja_text(j, &inner, &v) && hyb_jinja_escape(j, v, false, &v) &&
           hyb_jinja_put(j, b, v.u.s->p, v.u.s->n);
}

static bool hyb_jinja_format(hyb_jinja *j, hyb_jcall *c, hyb_jfields *fields, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    fields->next = 0;
    fields->safe = hyb_jis_safe(c->self);
    return hyb_jinja_format_text_of(j, &b, fields, c->self.u.s->p, c->self.u.s->p + c->self.u.s->n, 0) &&
           hyb_jinja_text(j, &b, out);
}
static bool hyb_jm_format(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jfields fields;
    fields.args = c->args;
    fields.map = NULL;
    return hyb_jinja_format(j, c, &fields, out);
}
static bool hyb_jm_format_map(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jfields fields;
    if (c->a[0].type != HYB_J_DICT)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "format_map expects a dict, not a %s", hyb_jtype_name(c->a[0]));
    fields.args = NULL;
    fields.map = c->a[0].u.dict;
    return hyb_jinja_format(j, c, &fields, out);
}
#endif
