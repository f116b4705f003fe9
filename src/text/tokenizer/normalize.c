/* text/tokenizer/normalize: Unicode's normalization form C, which some families' tokenizers put in front of everything:
 * e and U+0301 become U+00E9. Most text is in that form already and is only looked at: what follows nothing differently
 * (hyb_nfc_edges) is never touched. Where a text has to be changed, it is from the character before the first
 * such one to the next that stands for itself.
 *
 *     decompose each character; order the marks after a letter by their classes; compose from the left what composes
 */
#ifndef HYB_TEXT_TOKENIZER_NORMALIZE_C
#define HYB_TEXT_TOKENIZER_NORMALIZE_C
#include "../../core/grow.c"
#include "../unicode.c"

/* Whether a code point is one that NFC looks at; those below U+10000 are bits of a table. */
#define HYB_NFC_BITS 8192
static bool hyb_nfc_search(uint32_t c)
{
    size_t low = 0, high = HYB_COUNT(hyb_nfc_edges); /* edges below low are at or before c */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hyb_nfc_edges[middle] <= c)
            low = middle + 1;
        else
            high = middle;
    }
    return low & 1;
}

static void hyb_nfc_expand(uint8_t bits[HYB_NFC_BITS])
{
    size_t i;
    uint32_t c;
    memset(bits, 0, HYB_NFC_BITS);
    for (i = 0; i + 1 < HYB_COUNT(hyb_nfc_edges); i += 2)
        for (c = hyb_nfc_edges[i]; c < hyb_nfc_edges[i + 1] && c < 65536; c++) bits[c >> 3] |= (uint8_t)(1u << (c & 7));
}

HYB_INLINE bool hyb_nfc_touches(const uint8_t *bits, uint32_t c)
{
    return c < 65536 ? (bits[c >> 3] >> (c & 7) & 1) != 0 : hyb_nfc_search(c);
}

/* The first character from p on that NFC looks at, or end. All are from U+0300 on, whose first byte is 0xCC. */
static const uint8_t *hyb_nfc_first(const uint8_t *bits, const uint8_t *p, const uint8_t *end)
{
    uint32_t c;
    size_t length, valid;
    while (p < end) {
        if (end - p >= 8 && !(hyb_load_u64(p) & 0x8080808080808080u)) {
            p += 8;
            continue;
        }
        if (*p < 0xCC) {
            p++;
            continue;
        }
        length = hyb_utf8_decode(p, end, &c, &valid);
        if (length && hyb_nfc_touches(bits, c)) return p;
        p += length ? length : 1;
    }
    return end;
}

static unsigned hyb_nfc_class(uint32_t c)
{
    size_t low = 0, high = HYB_COUNT(hyb_nfc_classes);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hyb_nfc_classes[middle] >> 8 <= c)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? hyb_nfc_classes[low - 1] & 255 : 0;
}

/* The decomposition that the table has for c, 0 when it has none. */
static uint64_t hyb_nfc_split(uint32_t c)
{
    size_t low = 0, high = HYB_COUNT(hyb_nfc_splits);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (hyb_nfc_splits[middle] >> 42 <= c)
            low = middle + 1;
        else
            high = middle;
    }
    return low && hyb_nfc_splits[low - 1] >> 42 == c ? hyb_nfc_splits[low - 1] : 0;
}

/* Hangul syllables are computed: leading consonant, vowel, trailing consonant or none. */
enum {
    HYB_HANGUL = 0xAC00,
    HYB_HANGUL_COUNT = 11172,
    HYB_HANGUL_L = 0x1100,
    HYB_HANGUL_V = 0x1161,
    HYB_HANGUL_T = 0x11A7
};

/* The whole decomposition of c; returns how many there are, 1..4. */
static size_t hyb_nfc_decompose(uint32_t c, uint32_t out[4])
{
    uint32_t tail[4];
    size_t n = 0, n_tail = 0;
    uint64_t split;
    if (c - HYB_HANGUL < HYB_HANGUL_COUNT) {
        c -= HYB_HANGUL;
        out[0] = HYB_HANGUL_L + c / (21 * 28);
        out[1] = HYB_HANGUL_V + c / 28 % 21;
        out[2] = HYB_HANGUL_T + c % 28;
        return c % 28 ? 3 : 2;
    }
    while (n_tail < 3 && (split = hyb_nfc_split(c)) != 0) { /* only what comes first is split again */
        if (split & 0x1FFFFF) tail[n_tail++] = (uint32_t)(split & 0x1FFFFF);
        c = (uint32_t)(split >> 21) & 0x1FFFFF;
    }
    out[n++] = c;
    while (n_tail) out[n++] = tail[--n_tail];
    return n;
}

/* What a and then b become together, 0 when they stay two. */
static uint32_t hyb_nfc_pair(uint32_t a, uint32_t b)
{
    const uint64_t pair = (uint64_t)a << 21 | b;
    const uint32_t l = a - HYB_HANGUL_L, v = b - HYB_HANGUL_V, t = b - HYB_HANGUL_T, s = a - HYB_HANGUL;
    size_t low = 0, high = HYB_COUNT(hyb_nfc_composes);
    if (l < 19 && v < 21) return HYB_HANGUL + (l * 21 + v) * 28;
    if (s < HYB_HANGUL_COUNT && s % 28 == 0 && t - 1 < 27) return a + t;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const uint64_t split = hyb_nfc_splits[hyb_nfc_composes[middle]];
        const uint64_t other = split & ((UINT64_C(1) << 42) - 1);
        if (other == pair) return (uint32_t)(split >> 42);
        if (other < pair)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

/* ---- a piece that has to be looked at ---------------------------------------------------------------------------- */

typedef struct hyb_nfc_char {
    uint32_t point;
    uint32_t order; /* the combining class; 0: begins anew */
} hyb_nfc_char;

/* Orders each run of marks by their classes, those of one class as they stand; other: room for n. */
static void hyb_nfc_sort(hyb_nfc_char *chars, size_t n, hyb_nfc_char *other)
{
    size_t begin, end, i, j;
    for (begin = 0; begin < n; begin = end + 1) {
        for (end = begin; end < n && chars[end].order; end++) {}
        HYB_STEPS(end - begin + 1);
        if (end - begin <= 32) {
            for (i = begin + 1; i < end; i++) {
                const hyb_nfc_char c = chars[i];
                for (j = i; j > begin && chars[j - 1].order > c.order; j--) chars[j] = chars[j - 1];
                chars[j] = c;
            }
        } else {
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
static size_t hyb_nfc_compose(hyb_nfc_char *chars, size_t n)
{
    size_t i, m = 0, letter = SIZE_MAX;
    uint32_t last = 0, both;
    for (i = 0; i < n; i++) {
        const hyb_nfc_char c = chars[i];
        HYB_STEPS(1);
        both = letter != SIZE_MAX && (!last || last < c.order) ? hyb_nfc_pair(chars[letter].point, c.point) : 0;
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

typedef struct hyb_nfc_text {
    uint8_t *bytes;
    size_t n, capacity;
} hyb_nfc_text;

#define HYB_NFC_AFTER 32 /* bytes that may be read after the text: zeros */

static bool hyb_nfc_reserve(hybrid_runtime *rt, hyb_nfc_text *out, size_t more)
{
    size_t need;
    if (!hyb_add_size(out->n, more, &need) || !hyb_add_size(need, HYB_NFC_AFTER, &need)) return false;
    return !HYB_GROW(rt, out->bytes, out->capacity, out->n, need, NULL);
}

/* Well-formed UTF-8, the first character one that stands for itself or the beginning of the text. */
static bool hyb_nfc_piece(hybrid_runtime *rt, const uint8_t *p, const uint8_t *end, hyb_nfc_text *out)
{
    hyb_nfc_char few[64], *chars = few;
    const uint8_t *q;
    uint32_t c = 0, parts[4];
    size_t n = 0, i, k, length, valid, bytes;
    bool ok;
    for (q = p; q < end; q += length) {
        length = hyb_utf8_decode(q, end, &c, &valid);
        n += hyb_nfc_decompose(c, parts);
    }
    if (n > HYB_COUNT(few) / 2) {
        if (!hyb_mul_size(n, 2 * sizeof *chars, &bytes)) return false;
        if (!(chars = (hyb_nfc_char *)hyb_alloc(rt, bytes))) return false;
    }
    for (q = p, n = 0; q < end; q += length) {
        length = hyb_utf8_decode(q, end, &c, &valid);
        for (k = hyb_nfc_decompose(c, parts), i = 0; i < k; i++, n++) {
            chars[n].point = parts[i];
            chars[n].order = hyb_nfc_class(parts[i]);
        }
    }
    hyb_nfc_sort(chars, n, chars + n);
    n = hyb_nfc_compose(chars, n);
    ok = hyb_mul_size(n, 4, &bytes) && hyb_nfc_reserve(rt, out, bytes);
    for (i = 0; ok && i < n; i++) out->n += hyb_utf8_write(chars[i].point, (char *)out->bytes + out->n);
    if (chars != few) hyb_free(rt, chars);
    return ok;
}

/* The text in form C: out->bytes (the caller frees them), or NULL when it is so already. What is not UTF-8 stays.
 * false: no memory. */
static bool hyb_nfc(hybrid_runtime *rt, const uint8_t *bits, const uint8_t *text, size_t size, hyb_nfc_text *out)
{
    const uint8_t *p = text, *end = text + size, *q, *begin;
    uint32_t c;
    size_t length, valid;
    bool ok;
    memset(out, 0, sizeof *out);
    if ((q = hyb_nfc_first(bits, p, end)) == end) return true;
    ok = hyb_nfc_reserve(rt, out, size);
    while (ok && q < end) {
        begin = q;
        if (q > p) { /* with the character before it */
            for (begin = q - 1; begin > p && q - begin < 4 && (*begin & 0xC0) == 0x80; begin--) {}
            if (hyb_utf8_decode(begin, q, &c, &valid) != (size_t)(q - begin)) begin = q;
        }
        if (!(ok = hyb_nfc_reserve(rt, out, (size_t)(begin - p)))) break;
        memcpy(out->bytes + out->n, p, (size_t)(begin - p));
        out->n += (size_t)(begin - p);
        for (p = q; p < end; p += length)
            if (!(length = hyb_utf8_decode(p, end, &c, &valid)) || !hyb_nfc_touches(bits, c)) break;
        ok = hyb_nfc_piece(rt, begin, p, out);
        q = hyb_nfc_first(bits, p, end);
    }
    if (ok && (ok = hyb_nfc_reserve(rt, out, (size_t)(end - p)))) {
        memcpy(out->bytes + out->n, p, (size_t)(end - p));
        out->n += (size_t)(end - p);
        memset(out->bytes + out->n, 0, HYB_NFC_AFTER);
    }
    if (!ok) hyb_free(rt, out->bytes);
    return ok;
}
#endif
