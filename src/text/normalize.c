/* text/normalize: Unicode's normalization form C, which some families' tokenizers put in front of everything: e and
 * U+0301 become U+00E9. Most text is in that form already and is only looked at: what follows nothing differently
 * (hybrid__nfc_edges) is never touched. Where a text has to be changed, it is from the character before the first
 * such one to the next that stands for itself.
 *
 *     decompose each character; order the marks after a letter by their classes; compose from the left what composes
 * */

/* Whether a code point is one that NFC looks at; those below U+10000 are bits of a table. */
#define HYBRID__NFC_BITS 8192
static bool hybrid__nfc_search(uint32_t c)
{
    size_t low = 0, high = HYBRID__COUNT(hybrid__nfc_edges);        /* edges below low are at or before c */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hybrid__nfc_edges[middle] <= c) low = middle + 1; else high = middle;
    }
    return low & 1;
}

static void hybrid__nfc_expand(uint8_t bits[HYBRID__NFC_BITS])
{
    size_t i;
    uint32_t c;
    memset(bits, 0, HYBRID__NFC_BITS);
    for (i = 0; i + 1 < HYBRID__COUNT(hybrid__nfc_edges); i += 2)
        for (c = hybrid__nfc_edges[i]; c < hybrid__nfc_edges[i + 1] && c < 65536; c++)
            bits[c >> 3] |= (uint8_t)(1u << (c & 7));
}

HYBRID__INLINE bool hybrid__nfc_touches(const uint8_t *bits, uint32_t c)
{
    return c < 65536 ? (bits[c >> 3] >> (c & 7) & 1) != 0 : hybrid__nfc_search(c);
}

/* The first character from p on that NFC looks at, or end. All are from U+0300 on, whose first byte is 0xCC. */
static const uint8_t *hybrid__nfc_first(const uint8_t *bits, const uint8_t *p, const uint8_t *end)
{
    uint32_t c;
    size_t length, valid;
    while (p < end) {
        if (end - p >= 8 && !(hybrid__load_u64(p) & 0x8080808080808080u)) { p += 8; continue; }
        if (*p < 0xCC) { p++; continue; }
        length = hybrid__utf8_decode(p, end, &c, &valid);
        if (length && hybrid__nfc_touches(bits, c)) return p;
        p += length ? length : 1;
    }
    return end;
}

static unsigned hybrid__nfc_class(uint32_t c)
{
    size_t low = 0, high = HYBRID__COUNT(hybrid__nfc_classes);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hybrid__nfc_classes[middle] >> 8 <= c) low = middle + 1; else high = middle;
    }
    return low ? hybrid__nfc_classes[low - 1] & 255 : 0;
}

/* The decomposition that the table has for c, 0 when it has none. */
static uint64_t hybrid__nfc_split(uint32_t c)
{
    size_t low = 0, high = HYBRID__COUNT(hybrid__nfc_splits);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hybrid__nfc_splits[middle] >> 42 <= c) low = middle + 1; else high = middle;
    }
    return low && hybrid__nfc_splits[low - 1] >> 42 == c ? hybrid__nfc_splits[low - 1] : 0;
}

/* Hangul syllables are computed: leading consonant, vowel, trailing consonant or none. */
enum {
    HYBRID__HANGUL = 0xAC00,
    HYBRID__HANGUL_COUNT = 11172,
    HYBRID__HANGUL_L = 0x1100,
    HYBRID__HANGUL_V = 0x1161,
    HYBRID__HANGUL_T = 0x11A7
};

/* The whole decomposition of c; returns how many there are, 1..4. */
static size_t hybrid__nfc_decompose(uint32_t c, uint32_t out[4])
{
    uint32_t tail[4];
    size_t n = 0, n_tail = 0;
    uint64_t split;
    if (c - HYBRID__HANGUL < HYBRID__HANGUL_COUNT) {
        c -= HYBRID__HANGUL;
        out[0] = HYBRID__HANGUL_L + c / (21 * 28);
        out[1] = HYBRID__HANGUL_V + c / 28 % 21;
        out[2] = HYBRID__HANGUL_T + c % 28;
        return c % 28 ? 3 : 2;
    }
    while (n_tail < 3 && (split = hybrid__nfc_split(c)) != 0) {      /* only what comes first is split again */
        if (split & 0x1FFFFF) tail[n_tail++] = (uint32_t)(split & 0x1FFFFF);
        c = (uint32_t)(split >> 21) & 0x1FFFFF;
    }
    out[n++] = c;
    while (n_tail) out[n++] = tail[--n_tail];
    return n;
}

/* What a and then b become together, 0 when they stay two. */
static uint32_t hybrid__nfc_pair(uint32_t a, uint32_t b)
{
    const uint64_t pair = (uint64_t)a << 21 | b;
    const uint32_t l = a - HYBRID__HANGUL_L, v = b - HYBRID__HANGUL_V, t = b - HYBRID__HANGUL_T, s = a - HYBRID__HANGUL;
    size_t low = 0, high = HYBRID__COUNT(hybrid__nfc_composes);
    if (l < 19 && v < 21) return HYBRID__HANGUL + (l * 21 + v) * 28;
    if (s < HYBRID__HANGUL_COUNT && s % 28 == 0 && t - 1 < 27) return a + t;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const uint64_t split = hybrid__nfc_splits[hybrid__nfc_composes[middle]];
        const uint64_t other = split & ((UINT64_C(1) << 42) - 1);
        if (other == pair) return (uint32_t)(split >> 42);
        if (other < pair) low = middle + 1; else high = middle;
    }
    return 0;
}

/* ---- a piece that has to be looked at ---- */

typedef struct hybrid__nfc_char {
    uint32_t point;
    uint32_t order;              /* the combining class; 0: begins anew */
} hybrid__nfc_char;

/* Orders each run of marks by their classes, those of one class as they stand; other: room for n. */
static void hybrid__nfc_sort(hybrid__nfc_char *chars, size_t n, hybrid__nfc_char *other)
{
    size_t begin, end, i, j;
    for (begin = 0; begin < n; begin = end + 1) {
        for (end = begin; end < n && chars[end].order; end++) {}
        HYBRID__STEPS(end - begin + 1);
        if (end - begin <= 32) {
            for (i = begin + 1; i < end; i++) {
                const hybrid__nfc_char c = chars[i];
                for (j = i; j > begin && chars[j - 1].order > c.order; j--) chars[j] = chars[j - 1];
                chars[j] = c;
            }
        }
        else {
            size_t count[256], sum = begin;
            memset(count, 0, sizeof count);
            for (i = begin; i < end; i++) count[chars[i].order]++;
            for (i = 0; i < 256; i++) {
                j = count[i];
                count[i] = sum;
                sum += j;
            }
            for (i = begin; i < end; i++) other[count[chars[i].order]++] = chars[i];
            memcpy(chars + begin, other + begin, (end - begin) * sizeof *chars);
        }
    }
}

/* Composes what stands in order; returns how many are left. A mark composes with the last letter unless one of its
 * class lies between. */
static size_t hybrid__nfc_compose(hybrid__nfc_char *chars, size_t n)
{
    size_t i, m = 0, letter = SIZE_MAX;
    uint32_t last = 0, both;
    for (i = 0; i < n; i++) {
        const hybrid__nfc_char c = chars[i];
        HYBRID__STEPS(1);
        both = letter != SIZE_MAX && (!last || last < c.order) ? hybrid__nfc_pair(chars[letter].point, c.point) : 0;
        if (both) {
            chars[letter].point = both;
            continue;
        }
        if (!c.order) letter = m;
        last = c.order;
        chars[m++] = c;
    }
    return m;
}

typedef struct hybrid__nfc_text {
    uint8_t *bytes;
    size_t   n, capacity;
} hybrid__nfc_text;

#define HYBRID__NFC_AFTER 32       /* bytes that may be read after the text: zeros */

static bool hybrid__nfc_reserve(hybrid_runtime *rt, hybrid__nfc_text *out, size_t more)
{
    size_t need, capacity;
    uint8_t *bytes;
    if (!hybrid__add_size(out->n, more, &need) || !hybrid__add_size(need, HYBRID__NFC_AFTER, &need)) return false;
    if (need <= out->capacity) return true;
    capacity = HYBRID__MAX(need, out->capacity + out->capacity / 2);
    if (!(bytes = (uint8_t *)hybrid__realloc(rt, out->bytes, out->n, capacity))) return false;
    out->bytes = bytes;
    out->capacity = capacity;
    return true;
}

/* Well-formed UTF-8, the first character one that stands for itself or the beginning of the text. */
static bool hybrid__nfc_piece(hybrid_runtime *rt, const uint8_t *p, const uint8_t *end, hybrid__nfc_text *out)
{
    hybrid__nfc_char few[64], *chars = few;
    const uint8_t *q;
    uint32_t c = 0, parts[4];
    size_t n = 0, i, k, length, valid, bytes;
    bool ok;
    for (q = p; q < end; q += length) {
        length = hybrid__utf8_decode(q, end, &c, &valid);
        n += hybrid__nfc_decompose(c, parts);
    }
    if (n > HYBRID__COUNT(few) / 2) {
        if (!hybrid__mul_size(n, 2 * sizeof *chars, &bytes)) return false;
        if (!(chars = (hybrid__nfc_char *)hybrid__alloc(rt, bytes))) return false;
    }
    for (q = p, n = 0; q < end; q += length) {
        length = hybrid__utf8_decode(q, end, &c, &valid);
        for (k = hybrid__nfc_decompose(c, parts), i = 0; i < k; i++, n++) {
            chars[n].point = parts[i];
            chars[n].order = hybrid__nfc_class(parts[i]);
        }
    }
    hybrid__nfc_sort(chars, n, chars + n);
    n = hybrid__nfc_compose(chars, n);
    ok = hybrid__mul_size(n, 4, &bytes) && hybrid__nfc_reserve(rt, out, bytes);
    for (i = 0; ok && i < n; i++) out->n += hybrid__utf8_encode(chars[i].point, out->bytes + out->n);
    if (chars != few) hybrid__free(rt, chars);
    return ok;
}

/* The text in form C: out->bytes (the caller frees them), or NULL when it is so already. What is no UTF-8 stays.
 * false: no memory. */
static bool hybrid__nfc(hybrid_runtime *rt, const uint8_t *bits, const uint8_t *text, size_t size,
                        hybrid__nfc_text *out)
{
    const uint8_t *p = text, *end = text + size, *q, *begin;
    uint32_t c;
    size_t length, valid;
    bool ok;
    memset(out, 0, sizeof *out);
    if ((q = hybrid__nfc_first(bits, p, end)) == end) return true;
    ok = hybrid__nfc_reserve(rt, out, size);
    while (ok && q < end) {
        begin = q;
        if (q > p) {                                     /* with the character before it */
            for (begin = q - 1; begin > p && q - begin < 4 && (*begin & 0xC0) == 0x80; begin--) {}
            if (hybrid__utf8_decode(begin, q, &c, &valid) != (size_t)(q - begin)) begin = q;
        }
        if (!(ok = hybrid__nfc_reserve(rt, out, (size_t)(begin - p)))) break;
        memcpy(out->bytes + out->n, p, (size_t)(begin - p));
        out->n += (size_t)(begin - p);
        for (p = q; p < end; p += length)
            if (!(length = hybrid__utf8_decode(p, end, &c, &valid)) || !hybrid__nfc_touches(bits, c)) break;
        ok = hybrid__nfc_piece(rt, begin, p, out);
        q = hybrid__nfc_first(bits, p, end);
    }
    if (ok && (ok = hybrid__nfc_reserve(rt, out, (size_t)(end - p)))) {
        memcpy(out->bytes + out->n, p, (size_t)(end - p));
        out->n += (size_t)(end - p);
        memset(out->bytes + out->n, 0, HYBRID__NFC_AFTER);
    }
    if (!ok) hybrid__free(rt, out->bytes);
    return ok;
}
