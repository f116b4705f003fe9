/* text/jinja/filters/number: abs, int, float, round, sum: numbers as Python reads, rounds and adds them. */
#ifndef HYB_TEXT_JINJA_FILTERS_NUMBER_C
#define HYB_TEXT_JINJA_FILTERS_NUMBER_C
#include "member.c"

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
    if (c->self.type == HYB_J_FLOAT && d == d)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "int: inf is not an integer");
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
    if (d * scale - d * scale != 0)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "round: inf and nan are not integers");
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
#endif
