/* core/utf8: one code point at a time, strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef HYB_CORE_UTF8_C
#define HYB_CORE_UTF8_C
#include "macros.h"

/* Length of the well-formed UTF-8 sequence at p (p < end) and its code point; 0 when there is none (overlong forms,
 * surrogates and code points beyond U+10FFFF included). *valid: how many bytes at p could still begin one (at least
 * 1). */
static size_t hyb_utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *code_point, size_t *valid)
{
    uint32_t c = *p, low = 0x80, high = 0xBF;
    size_t n, i;
    *valid = 1;
    if (c < 0x80) {
        *code_point = c;
        return 1;
    }
    if (c < 0xC2 || c > 0xF4) return 0;
    n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c == 0xE0)
        low = 0xA0;
    else if (c == 0xED)
        high = 0x9F;
    else if (c == 0xF0)
        low = 0x90;
    else if (c == 0xF4)
        high = 0x8F;
    c &= 0x7Fu >> n;
    for (i = 1; i < n; i++) {
        if (p + i == end || p[i] < low || p[i] > high) return 0;
        c = c << 6 | (p[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
        *valid = i + 1;
    }
    *code_point = c;
    return n;
}

/* The same at the beginning of a text, which may be empty. */
static size_t hyb_utf8_read(const char *text, const char *end, uint32_t *code)
{
    size_t valid;
    return text < end ? hyb_utf8_decode((const uint8_t *)text, (const uint8_t *)end, code, &valid) : 0;
}

/* Writes a code point (U+FFFD for a number that is not one) and returns its 1..4 bytes. */
static size_t hyb_utf8_write(uint32_t code, char out[4])
{
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* A step that always advances: an invalid byte counts as one character, U+FFFD. p < end. */
static size_t hyb_utf8_next(const char *p, const char *end, uint32_t *code)
{
    size_t n = hyb_utf8_read(p, end, code);
    if (n) return n;
    *code = 0xFFFD;
    return 1;
}
#endif
