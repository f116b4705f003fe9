/* core/utf8: one code point at a time, strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef HYB_CORE_UTF8_C
#define HYB_CORE_UTF8_C
#include "macros.h"

/* Bytes of the code point at p (1..4), or 0 when [p, end) does not start with a valid one. */
static size_t hyb_utf8_read(const char *text, const char *end, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = (size_t)(end - text), n, i;
    uint32_t c, low;
    if (!left) return 0;
    c = p[0];
    if (c < 0x80) {
        *code = c;
        return 1;
    }
    if (c < 0xC2 || c > 0xF4) return 0;
    n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (left < n) return 0;
    c &= 0x7Fu >> n;
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    low = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
    if (c < low || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
    *code = c;
    return n;
}

/* Writes code (made U+FFFD when it is none) and returns its 1..4 bytes. */
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
