/* text/unicode: UTF-8, the classes of code points that pre-tokenizers speak of, and a stream that never shows half a
 * character. */
#ifndef HYB_TEXT_UNICODE_C
#define HYB_TEXT_UNICODE_C
#include "../api/tokenizer.h"
#include "../core/fpenv.c"
#include "../core/utf8.c"
#include "unicode_data.c"

/* \p{Lu} ... \p{S}; SPACE is \s without NEWLINE (\r and \n). Bytes that are not UTF-8 and everything else are OTHER. */
typedef enum hyb_char_class {
    HYB_CHAR_OTHER,
    HYB_CHAR_LU,
    HYB_CHAR_LT,
    HYB_CHAR_LL,
    HYB_CHAR_LM,
    HYB_CHAR_LO,
    HYB_CHAR_MARK,
    HYB_CHAR_NUMBER,
    HYB_CHAR_PUNCTUATION,
    HYB_CHAR_SYMBOL,
    HYB_CHAR_SPACE,
    HYB_CHAR_NEWLINE
} hyb_char_class;

static unsigned hyb_unicode_class(uint32_t code_point)
{
    size_t low = 0, high = HYB_COUNT(hyb_unicode_runs);
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (hyb_unicode_runs[middle] >> 4 <= code_point)
            low = middle;
        else
            high = middle;
    }
    return hyb_unicode_runs[low] & 15;
}

/* The classes of the code points below U+10000, flat, so that reading a text costs one load a character. */
static void hyb_unicode_expand(uint8_t table[65536])
{
    size_t i;
    for (i = 0; i < HYB_COUNT(hyb_unicode_runs) && hyb_unicode_runs[i] >> 4 < 65536; i++) {
        uint32_t first = hyb_unicode_runs[i] >> 4;
        uint32_t last = i + 1 < HYB_COUNT(hyb_unicode_runs) ? HYB_MIN(hyb_unicode_runs[i + 1] >> 4, 65536u) : 65536u;
        memset(table + first, (int)(hyb_unicode_runs[i] & 15), last - first);
    }
}

/* The character at p (p < end): its class, its length and, for the few that ask, its code point (UINT32_MAX: a byte
 * that is not UTF-8). */
HYB_INLINE unsigned hyb_char_at_inline(const uint8_t *table, const uint8_t *p, const uint8_t *end, size_t *length,
                                       uint32_t *code_point)
{
    size_t valid;
    if (HYB_LIKELY(*p < 0x80)) {
        *length = 1;
        *code_point = *p;
        return table[*p];
    }
    *length = hyb_utf8_decode(p, end, code_point, &valid);
    if (!*length) {
        *length = 1;
        *code_point = UINT32_MAX;
        return HYB_CHAR_OTHER;
    }
    return *code_point < 65536 ? table[*code_point] : hyb_unicode_class(*code_point);
}

/* ---- streaming --------------------------------------------------------------------------------------------------- */

/* Replaces what is not UTF-8 as Unicode (3.9, "maximal subpart") and WHATWG say, and keeps back an unfinished
 * character. */
static size_t hyb_utf8_filter(const uint8_t *p, const uint8_t *end, bool last, char *out, size_t *used)
{
    static const char replacement[3] = { '\xEF', '\xBF', '\xBD' };
    const uint8_t *begin = p;
    size_t n = 0, length, valid;
    uint32_t code_point;
    while (p < end) {
        if ((length = hyb_utf8_decode(p, end, &code_point, &valid)) != 0) {
            memcpy(out + n, p, length);
            n += length;
            p += length;
            continue;
        }
        if (!last && p + valid == end && *p >= 0xC2 && *p <= 0xF4) break; /* may still become a character */
        memcpy(out + n, replacement, 3);
        n += 3;
        p += valid;
    }
    *used = (size_t)(p - begin);
    return n;
}

HYB_BORDER(size_t, hybrid_utf8_feed, (hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out),
           (stream, bytes, size, out))
{
    const uint8_t *p = (const uint8_t *)bytes;
    size_t n = 0, used, i;
    uint8_t head[4];
    while (stream->size && size) { /* finish the character that was begun, byte by byte */
        memcpy(head, stream->pending, stream->size);
        head[stream->size] = *p++;
        size--;
        n += hyb_utf8_filter(head, head + stream->size + 1, false, out + n, &used);
        i = (size_t)stream->size + 1 - used;
        memcpy(stream->pending, head + used, i);
        stream->size = (unsigned char)i;
    }
    if (!size) return n;
    n += hyb_utf8_filter(p, p + size, false, out + n, &used);
    stream->size = (unsigned char)(size - used);
    memcpy(stream->pending, p + used, size - used);
    return n;
}

HYB_BORDER(size_t, hybrid_utf8_flush, (hybrid_utf8_stream *stream, char *out), (stream, out))
{
    size_t used, n = hyb_utf8_filter(stream->pending, stream->pending + stream->size, true, out, &used);
    stream->size = 0;
    return n;
}
#endif
