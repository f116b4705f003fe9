/* core/decimal: doubles as text, the same in every locale. The C library does the rounding, but never sees or makes a
 * decimal point: it reads "125e-2" and of what it writes only the digits and the exponent are taken. */
#ifndef HYB_CORE_DECIMAL_C
#define HYB_CORE_DECIMAL_C
#include "macros.h"

HYB_INLINE bool hyb_is_digit(char c) { return c >= '0' && c <= '9'; }

/* Reads [-]digits[.digits][(e|E)[+|-]digits] at p; returns the bytes used, 0 when there is no number. Correctly
 * rounded. */
static size_t hyb_decimal_read(const char *p, const char *end, double *value)
{
    /* 768 are enough to round a double; of those after them it matters only whether all are zero */
    enum { DIGITS = 800 };
    char buffer[DIGITS + 40];
    const char *start = p;
    size_t n = 0, any = 0;
    bool point = false, seen = false, more = false;
    int64_t scale = 0, exponent = 0;
    if (p < end && *p == '-') {
        buffer[n++] = '-';
        p++;
    }
    for (; p < end; p++) {
        if (*p == '.' && !point && p + 1 < end && hyb_is_digit(p[1])) {
            point = true;
            continue;
        }
        if (!hyb_is_digit(*p)) break;
        any++;
        /* leading zeros must not fill the buffer */
        if (*p == '0' && !seen) {
            scale -= point;
            continue;
        }
        seen = true;
        if (n < DIGITS) {
            buffer[n++] = *p;
            scale -= point;
        } else {
            more = more || *p != '0';
            scale += !point;
        }
    }
    if (!any) return 0;
    if (!seen) buffer[n++] = '0';
    if (more) {
        buffer[n++] = '1';
        scale--;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *e = p + 1;
        bool minus = e < end && *e == '-';
        if (e < end && (*e == '-' || *e == '+')) e++;
        if (e < end && hyb_is_digit(*e)) {
            for (; e < end && hyb_is_digit(*e); e++)
                if (exponent < 100000000) exponent = exponent * 10 + (*e - '0');
            if (minus) exponent = -exponent;
            p = e;
        }
    }
    snprintf(buffer + n, 40, "e%lld", (long long)(scale + exponent));
    *value = strtod(buffer, NULL);
    return (size_t)(p - start);
}

/* The digits of a finite v rounded to `digits` (1..17): out gets d1 d2 d3..., zero-terminated; returns the exponent
 * of d1. */
static int hyb_decimal_digits(double v, int digits, char out[20])
{
    char text[64];
    const char *p = text;
    int n = 0, exponent = 0;
    bool minus;
    snprintf(text, sizeof text, "%.*e", digits - 1, v < 0 ? -v : v);
    for (; *p && *p != 'e'; p++)
        if (hyb_is_digit(*p) && n < 19) out[n++] = *p;
    out[n] = 0;
    if (*p) p++;
    minus = *p == '-';
    if (*p == '-' || *p == '+') p++;
    for (; hyb_is_digit(*p); p++) exponent = exponent * 10 + (*p - '0');
    return minus ? -exponent : exponent;
}

/* As Python's repr: the fewest digits that read back as v, always with ".0" or an exponent. Returns the length. */
static size_t hyb_decimal_write(double v, char out[40])
{
    char digits[20], text[48];
    int count = 0, exponent = 0, i;
    size_t n = 0;
    double back = 0;
    if (v != v) {
        memcpy(out, "nan", 4);
        return 3;
    }
    if (v == HUGE_VAL || v == -HUGE_VAL) {
        memcpy(out, v < 0 ? "-inf" : "inf", v < 0 ? 5 : 4);
        return v < 0 ? 4 : 3;
    }
    for (count = 1; count <= 17; count++) {
        exponent = hyb_decimal_digits(v, count, digits);
        snprintf(text, sizeof text, "%se%d", digits, exponent - (count - 1));
        if ((back = strtod(text, NULL)) == (v < 0 ? -v : v)) break;
    }
    if (count > 17) count = 17;
    while (count > 1 && digits[count - 1] == '0') count--;
    if (signbit(v)) out[n++] = '-';
    if (exponent < -4 || exponent >= 16) {
        out[n++] = digits[0];
        if (count > 1) {
            out[n++] = '.';
            for (i = 1; i < count; i++) out[n++] = digits[i];
        }
        n += (size_t)snprintf(out + n, 8, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
        return n;
    }
    if (exponent < 0) {
        out[n++] = '0';
        out[n++] = '.';
        for (i = -1; i > exponent; i--) out[n++] = '0';
        for (i = 0; i < count; i++) out[n++] = digits[i];
    } else {
        for (i = 0; i <= exponent; i++) out[n++] = i < count ? digits[i] : '0';
        out[n++] = '.';
        if (count <= exponent + 1) out[n++] = '0';
        for (; i < count; i++) out[n++] = digits[i];
    }
    out[n] = 0;
    return n;
}
#endif
