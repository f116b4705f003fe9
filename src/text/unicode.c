/* text/unicode: UTF-8, the classes of code points that pre-tokenizers speak of, and a stream that never shows half a character. */

/* \p{Lu} ... \p{S}; SPACE is \s without NEWLINE (\r and \n). Bytes that are no UTF-8 and everything else are OTHER. */
typedef enum hybrid__char_class {
    HYBRID__CHAR_OTHER, HYBRID__CHAR_LU, HYBRID__CHAR_LT, HYBRID__CHAR_LL, HYBRID__CHAR_LM, HYBRID__CHAR_LO, HYBRID__CHAR_MARK,
    HYBRID__CHAR_NUMBER, HYBRID__CHAR_PUNCTUATION, HYBRID__CHAR_SYMBOL, HYBRID__CHAR_SPACE, HYBRID__CHAR_NEWLINE
} hybrid__char_class;

/* Length of the well-formed UTF-8 sequence at p (p < end) and its code point; 0 when there is none (overlong forms, surrogates
 * and code points beyond U+10FFFF included). *valid: how many bytes at p could still begin one (at least 1). */
static size_t hybrid__utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *code_point, size_t *valid)
{
    uint32_t c = *p, low = 0x80, high = 0xBF;
    size_t n, i;
    *valid = 1;
    if (c < 0x80) { *code_point = c; return 1; }
    if (c < 0xC2 || c > 0xF4) return 0;
    n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c == 0xE0) low = 0xA0;
    else if (c == 0xED) high = 0x9F;
    else if (c == 0xF0) low = 0x90;
    else if (c == 0xF4) high = 0x8F;
    c &= 0x7Fu >> n;
    for (i = 1; i < n; i++) {
        if (p + i == end || p[i] < low || p[i] > high) return 0;
        c = c << 6 | (p[i] & 0x3F);
        low = 0x80; high = 0xBF;
        *valid = i + 1;
    }
    *code_point = c;
    return n;
}

/* Writes code_point (a valid one) to out; the number of bytes, 1..4. */
static size_t hybrid__utf8_encode(uint32_t code_point, uint8_t out[4])
{
    if (code_point < 0x80) { out[0] = (uint8_t)code_point; return 1; }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 63));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (code_point & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (code_point & 63));
    return 4;
}

static unsigned hybrid__unicode_class(uint32_t code_point)
{
    size_t low = 0, high = HYBRID__COUNT(hybrid__unicode_runs);
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (hybrid__unicode_runs[middle] >> 4 <= code_point) low = middle; else high = middle;
    }
    return hybrid__unicode_runs[low] & 15;
}

/* The classes of the code points below U+10000, flat, so that reading a text costs one load a character. */
static void hybrid__unicode_expand(uint8_t table[65536])
{
    size_t i;
    for (i = 0; i < HYBRID__COUNT(hybrid__unicode_runs) && hybrid__unicode_runs[i] >> 4 < 65536; i++) {
        uint32_t first = hybrid__unicode_runs[i] >> 4;
        uint32_t last = i + 1 < HYBRID__COUNT(hybrid__unicode_runs) ? HYBRID__MIN(hybrid__unicode_runs[i + 1] >> 4, 65536u) : 65536u;
        memset(table + first, (int)(hybrid__unicode_runs[i] & 15), last - first);
    }
}

/* The character at p (p < end): its class, its length and, for the few that ask, its code point (UINT32_MAX: a byte that is no UTF-8). */
HYBRID__INLINE unsigned hybrid__char_at(const uint8_t *table, const uint8_t *p, const uint8_t *end, size_t *length, uint32_t *code_point)
{
    size_t valid;
    if (HYBRID__LIKELY(*p < 0x80)) { *length = 1; *code_point = *p; return table[*p]; }
    *length = hybrid__utf8_decode(p, end, code_point, &valid);
    if (!*length) { *length = 1; *code_point = UINT32_MAX; return HYBRID__CHAR_OTHER; }
    return *code_point < 65536 ? table[*code_point] : hybrid__unicode_class(*code_point);
}

/* ---- streaming ---- */

/* Replaces what is no UTF-8 as Unicode (3.9, "maximal subpart") and WHATWG say, and keeps back an unfinished character. */
static size_t hybrid__utf8_filter(const uint8_t *p, const uint8_t *end, bool last, char *out, size_t *used)
{
    static const char replacement[3] = { '\xEF', '\xBF', '\xBD' };
    const uint8_t *begin = p;
    size_t n = 0, length, valid;
    uint32_t code_point;
    while (p < end) {
        if ((length = hybrid__utf8_decode(p, end, &code_point, &valid)) != 0) {
            memcpy(out + n, p, length);
            n += length;
            p += length;
            continue;
        }
        if (!last && p + valid == end && *p >= 0xC2 && *p <= 0xF4) break;   /* may still become a character */
        memcpy(out + n, replacement, 3);
        n += 3;
        p += valid;
    }
    *used = (size_t)(p - begin);
    return n;
}

HYBRID__BORDER(size_t, hybrid_utf8_feed, (hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out),
              (stream, bytes, size, out))
{
    const uint8_t *p = (const uint8_t *)bytes;
    size_t n = 0, used, i;
    uint8_t head[4];
    while (stream->size && size) {                       /* finish the character that was begun, byte by byte */
        memcpy(head, stream->pending, stream->size);
        head[stream->size] = *p++;
        size--;
        n += hybrid__utf8_filter(head, head + stream->size + 1, false, out + n, &used);
        i = (size_t)stream->size + 1 - used;
        memcpy(stream->pending, head + used, i);
        stream->size = (unsigned char)i;
    }
    if (!size) return n;
    n += hybrid__utf8_filter(p, p + size, false, out + n, &used);
    stream->size = (unsigned char)(size - used);
    memcpy(stream->pending, p + used, size - used);
    return n;
}

HYBRID__BORDER(size_t, hybrid_utf8_flush, (hybrid_utf8_stream *stream, char *out), (stream, out))
{
    size_t used, n = hybrid__utf8_filter(stream->pending, stream->pending + stream->size, true, out, &used);
    stream->size = 0;
    return n;
}
