/* compute/cpu/int/panel: prefill with AVX-512: activations and weights as the micro-kernels of VNNI and AMX read them.
 *
 * A panel is 16 rows of weights, unpacked once and multiplied with all rows of activations: for every 4 k a vector of
 * 16 rows x 4 bytes. Blocks (and super-blocks) lie in the order of their sums, all of p[0] first, then p[4], p[2],
 * p[6], p[1], p[5], p[3], p[7]: a run of blocks adds into one set of registers, and halve(p, 8) is met by adding
 * finished runs pairwise, like carries of a binary counter.
 *
 *     a panel of blocks of 32 (HYB_PANEL32 bytes each), blocks in the order of their sums
 *
 *     vector 0   row 0: k 0..3 | row 1: k 0..3 | ... | row 15: k 0..3       16 x 4 bytes: one operand of vpdpbusd
 *     vector 1   row 0: k 4..7 | row 1: k 4..7 | ... | row 15: k 4..7
 *     ...
 *     vector 7   row 0: k 28..31 | ...
 *     d          row 0 | row 1 | ... | row 15                               16 floats
 *     m          the same, of types that have a minimum */
#ifndef HYB_COMPUTE_CPU_INT_PANEL_C
#define HYB_COMPUTE_CPU_INT_PANEL_C
#include "avx512.c"

#if defined(HYB_AVX512)

/* Position of the first block of every run; run[8] is their number. Run j is p[hyb_run_sum[j]]. */
static const uint8_t hyb_run_sum[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };
static void hyb_runs(int64_t blocks, int64_t run[9])
{
    int j;
    run[0] = 0;
    for (j = 0; j < 8; j++) run[j + 1] = run[j] + (blocks + 7 - hyb_run_sum[j]) / 8;
}
HYB_INLINE int64_t hyb_run_position(const int64_t run[9], int64_t b)
{
    static const uint8_t order[8] = { 0, 4, 2, 6, 1, 5, 3, 7 }; /* its own inverse */
    return run[order[b % 8]] + b / 8;
}

/* ---- activations ----
 * 32-weight blocks: q: 32 int8 a block; d: floats; s: floats, sum of q; c: int32, bits of 1.5 * 2^23 minus 128 * sum.
 * Super-blocks: q: 256 int8; d: floats; c3: int32, -124 times the sum of q; c6: the same, -32768 times; wide: int32,
 * the greatest sum of |q| of 16; s16: 16 int16, sums of 16; b16: the same sums as 16 pairs of bfloat16, the first a
 * multiple of 16, the second 0..15: both exact; s32: 8 int16, sums of 32; e16, e32: 16 int32, -16 and -32 times the
 * sums of 16. */
HYB_INLINE size_t hyb_many32_d(int64_t k) { return hyb_align((size_t)k, 64); }
HYB_INLINE size_t hyb_many32_part(int64_t k) { return hyb_align((size_t)k / 8, 64); }
static size_t hyb_many32_bytes(int64_t k) { return (hyb_many32_d(k) + 3 * hyb_many32_part(k)) | 64; }
HYB_INLINE size_t hyb_many256_d(int64_t k) { return (size_t)k; }
HYB_INLINE size_t hyb_many256_part(int64_t k) { return hyb_align((size_t)k / 64, 64); }
HYB_INLINE size_t hyb_many256_s16(int64_t k) { return (size_t)k + 4 * hyb_many256_part(k); }
HYB_INLINE size_t hyb_many256_b16(int64_t k) { return hyb_many256_s16(k) + hyb_align((size_t)k / 8, 64); }
HYB_INLINE size_t hyb_many256_s32(int64_t k) { return hyb_many256_b16(k) + (size_t)k / 4; }
HYB_INLINE size_t hyb_many256_e16(int64_t k) { return hyb_many256_s32(k) + hyb_align((size_t)k / 16, 64); }
HYB_INLINE size_t hyb_many256_e32(int64_t k) { return hyb_many256_e16(k) + (size_t)k / 4; }
static size_t hyb_many256_bytes(int64_t k) { return (hyb_many256_e32(k) + (size_t)k / 4) | 64; }

HYB_TARGET_AVX512 static void hyb_many32_prepare(const float *x, int64_t k, void *act)
{
    char *base = (char *)act + hyb_many32_d(k);
    float *d = (float *)(void *)base, *s = (float *)(void *)(base + hyb_many32_part(k));
    int32_t *c = (int32_t *)(void *)(base + 2 * hyb_many32_part(k));
    int64_t run[9], b;
    hyb_runs(k / 32, run);
    for (b = 0; b < k / 32; b++) {
        int64_t at = hyb_run_position(run, b);
        __m512i q0, q1;
        int sum;
        d[at] = hyb_quant32_avx512(x + b * 32, &q0, &q1);
        sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
        s[at] = (float)sum;
        c[at] = 0x4B400000 - 128 * sum;
        _mm_store_si128((__m128i *)(void *)((char *)act + at * 32), _mm512_cvtepi32_epi8(q0));
        _mm_store_si128((__m128i *)(void *)((char *)act + at * 32 + 16), _mm512_cvtepi32_epi8(q1));
    }
}

/* Sums of neighbours: lane i holds v[2i] + v[2i + 1] of the 32 lanes of v0 and v1. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_pair_sums_avx512(__m512i v0, __m512i v1)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_add_epi32(_mm512_permutex2var_epi32(v0, even, v1),
                            _mm512_permutex2var_epi32(v0, _mm512_add_epi32(even, _mm512_set1_epi32(1)), v1));
}
/* What is known of the sums of 256 int8 at q: to the tables of block `at` of a row. */
HYB_TARGET_AVX512 static void hyb_many256_sums(const char *q, int64_t at, int64_t k, char *act)
{
    const __m512i top = _mm512_set1_epi8(-128), low4 = _mm512_set1_epi32(15);
    char *c = act + hyb_many256_d(k) + at * 4;
    HYB_ALIGN64 int32_t s8[32], size8[32];
    __m512i s16, s32, less, lo, hi;
    int32_t sum;
    int i;
    for (i = 0; i < 4; i++) { /* bytes from 0 to 255: 8 * 128 too much */
        const __m512i v = _mm512_load_si512(q + 64 * i), zero = _mm512_setzero_si512(),
                      s = _mm512_sad_epu8(_mm512_xor_si512(v, top), zero),
                      size = _mm512_sad_epu8(_mm512_abs_epi8(v), zero);
        _mm256_store_si256((__m256i *)(void *)(s8 + 8 * i),
                           _mm256_sub_epi32(_mm512_cvtepi64_epi32(s), _mm256_set1_epi32(1024)));
        _mm256_store_si256((__m256i *)(void *)(size8 + 8 * i), _mm512_cvtepi64_epi32(size));
    }
    s16 = hyb_pair_sums_avx512(_mm512_load_si512(s8), _mm512_load_si512(s8 + 16));
    s32 = hyb_pair_sums_avx512(s16, s16);
    sum = _mm512_reduce_add_epi32(s16);
    hyb_store_u32(c + hyb_many256_part(k), (uint32_t)(-124 * sum));
    hyb_store_u32(c + 2 * hyb_many256_part(k), (uint32_t)(-32768 * sum));
    hyb_store_u32(c + 3 * hyb_many256_part(k),
                  (uint32_t)_mm512_reduce_max_epi32(
                      hyb_pair_sums_avx512(_mm512_load_si512(size8), _mm512_load_si512(size8 + 16))));
    _mm256_store_si256((__m256i *)(void *)(act + hyb_many256_s16(k) + at * 32), _mm512_cvtepi32_epi16(s16));
    _mm_store_si128((__m128i *)(void *)(act + hyb_many256_s32(k) + at * 16),
                    _mm256_castsi256_si128(_mm512_cvtepi32_epi16(s32)));
    less = _mm512_sub_epi32(_mm512_setzero_si512(), s16);
    _mm512_store_si512(act + hyb_many256_e16(k) + at * 64, _mm512_slli_epi32(less, 4));
    _mm512_store_si512(act + hyb_many256_e32(k) + at * 64, _mm512_slli_epi32(less, 5));
    lo = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_and_si512(s16, low4)));
    hi = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_andnot_si512(low4, s16)));
    _mm512_store_si512(act + hyb_many256_b16(k) + at * 64, _mm512_or_si512(lo, _mm512_srli_epi32(hi, 16)));
}
HYB_TARGET_AVX512 static void hyb_many256_prepare(const float *x, int64_t k, void *act)
{
    float *d = (float *)(void *)((char *)act + hyb_many256_d(k));
    int64_t run[9], b;
    int i;
    hyb_runs(k / 256, run);
    for (b = 0; b < k / 256; b++, x += 256) {
        const int64_t at = hyb_run_position(run, b);
        char *q = (char *)act + at * 256;
        __m512i a = _mm512_setzero_si512();
        float id;
        for (i = 0; i < 16; i++) a = _mm512_max_epu32(a, hyb_abs_bits_avx512(_mm512_loadu_ps(x + i * 16)));
        d[at] = hyb_bits_f32(_mm512_reduce_max_epu32(a)) / 127.0f;
        id = hyb_act_inverse(d[at]);
        for (i = 0; i < 16; i++)
            _mm_store_si128((__m128i *)(void *)(q + i * 16),
                            _mm512_cvtepi32_epi8(hyb_quant16_avx512(_mm512_loadu_ps(x + i * 16), id)));
        hyb_many256_sums(q, at, k, (char *)act);
    }
}
static const hyb_act_format hyb_many32_avx512 = { hyb_many32_bytes, hyb_many32_prepare };
static const hyb_act_format hyb_many256_avx512 = { hyb_many256_bytes, hyb_many256_prepare };

/* ---- panels ----
 * Of a 32-weight block, HYB_PANEL32 bytes: 8 vectors of signed weights, d[16], m[16] (floats).
 * Of a super-block, HYB_PANEL256 bytes: 64 vectors: scale * q as unsigned bytes, the low byte where it takes two (Q3_K:
 * plus 124); then 64 vectors of high bytes (Q6_K: plus 128); d[16], dmin[16]; mins: 16 vectors, the min of each 16
 * weights as a pair of equal bfloat16; 8 vectors, the mins of pairs of 16 weights as int16.
 * Q4_K, Q5_K and Q6_K without AMX, HYB_APART256 bytes: 64 vectors of q, unsigned; 8 vectors of scales, each in the low
 * word of a dword (Q6_K: 16, in the room of the mins too); 4 vectors of the mins of pairs of 32 weights; Q5_K: 4 of 16
 * times the scales of such pairs; d[16], dmin[16]. */
enum {
    HYB_APART256_SC = 4096,
    HYB_APART256_M = 4608,
    HYB_APART256_R = 4864,
    HYB_APART256_D = 5120,
    HYB_APART256 = 5248,
    HYB_PANEL32 = 640,
    HYB_PANEL32_D = 512,
    HYB_PANEL32_M = 576,
    HYB_PANEL256_HIGH = 4096,
    HYB_PANEL256_D = 8192,
    HYB_PANEL256_MB = 8320,
    HYB_PANEL256_MS = 9344,
    HYB_PANEL256 = 9856
};

/* Byte at of rows e, e+4, e+8, e+12, 16 bytes each. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_rows4_avx512(const char *const *rows, int e, size_t at)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(rows[e] + at)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 4] + at)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 8] + at)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 12] + at)), 3);
}
/* o[j]: dword j of all 16 rows, where v[e] holds rows e, e+4, e+8, e+12. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_transpose_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3, __m512i o[4])
{
    __m512i t0 = _mm512_unpacklo_epi32(v0, v1), t1 = _mm512_unpackhi_epi32(v0, v1), t2 = _mm512_unpacklo_epi32(v2, v3),
            t3 = _mm512_unpackhi_epi32(v2, v3);
    o[0] = _mm512_unpacklo_epi64(t0, t2);
    o[1] = _mm512_unpackhi_epi64(t0, t2);
    o[2] = _mm512_unpacklo_epi64(t1, t3);
    o[3] = _mm512_unpackhi_epi64(t1, t3);
}
/* 16 bytes at `at` of 16 rows, as 4 vectors of 16 rows x 4 bytes. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_piece_avx512(const char *const *rows, size_t at, __m512i o[4])
{
    hyb_transpose_avx512(hyb_rows4_avx512(rows, 0, at), hyb_rows4_avx512(rows, 1, at), hyb_rows4_avx512(rows, 2, at),
                         hyb_rows4_avx512(rows, 3, at), o);
}
/* 4 bytes at `at` of 16 rows; 2 bytes. */
HYB_TARGET_AVX512 static __m512i hyb_dwords_avx512(const char *const *rows, size_t at)
{
    uint32_t v[16];
    int i;
    HYB_UNROLL
    for (i = 0; i < 16; i++) v[i] = hyb_load_u32(rows[i] + at);
    return _mm512_loadu_si512(v);
}
HYB_TARGET_AVX512 static __m512 hyb_floats_avx512(const char *const *rows, size_t at)
{
    uint16_t v[16];
    int i;
    HYB_UNROLL
    for (i = 0; i < 16; i++) v[i] = hyb_load_u16(rows[i] + at);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)v));
}

/* One block of 16 rows, `from` bytes from where rows[i] points. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_panel32_avx512(const char *const *rows, size_t from, size_t qs, size_t qh,
                                                     bool bytes, bool affine, int offset, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), off = _mm512_set1_epi8((char)offset);
    __m512i o[4], h, spread, bit;
    int half, j;
    if (bytes) {
        HYB_UNROLL
        for (half = 0; half < 2; half++) {
            hyb_piece_avx512(rows, from + qs + 16 * (size_t)half, o);
            HYB_UNROLL
            for (j = 0; j < 4; j++) _mm512_store_si512(panel + half * 256 + j * 64, o[j]);
        }
    } else {
        hyb_piece_avx512(rows, from + qs, o);
        h = qh ? hyb_dwords_avx512(rows, from + qh) : _mm512_setzero_si512();
        HYB_UNROLL
        for (half = 0; half < 2; half++) HYB_UNROLL
        for (j = 0; j < 4; j++) {
            __m512i q = _mm512_and_si512(half ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
            if (qh) { /* 4 bits of h to bit 4 of 4 bytes */
                spread =
                    _mm512_shuffle_epi8(h, _mm512_add_epi8(_mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0),
                                                           _mm512_set1_epi8((char)(half * 2 + j / 2))));
                bit = _mm512_set1_epi32(j % 2 ? (int)0x80402010u : 0x08040201);
                q = _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(spread, bit), q, _mm512_set1_epi8(16));
            }
            if (offset) q = _mm512_sub_epi8(q, off);
            _mm512_store_si512(panel + half * 256 + j * 64, q);
        }
    }
    _mm512_store_ps((float *)(void *)(panel + HYB_PANEL32_D), hyb_floats_avx512(rows, from));
    if (affine) _mm512_store_ps((float *)(void *)(panel + HYB_PANEL32_M), hyb_floats_avx512(rows, from + 2));
}

/* Byte s % 4 of every dword of v (4 sub-blocks a dword), zero- or sign-extended to both words. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_scale_words_avx512(__m512i v, int s, bool is_signed)
{
    /* to the high bytes */
    const __m512i at = _mm512_set4_epi32((int)0x0C800C80, (int)0x08800880, (int)0x04800480, (int)0x00800080);
    __m512i w = _mm512_shuffle_epi8(v, _mm512_add_epi8(at, _mm512_set1_epi16((short)(s % 4 << 8))));
    return is_signed ? _mm512_srai_epi16(w, 8) : _mm512_srli_epi16(w, 8);
}
/* Words of products of even and odd bytes: low bytes to at, high bytes (plus flip) to the second plane. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_planes_avx512(__m512i even, __m512i odd, int flip, char *at)
{
    const __m512i low = _mm512_set1_epi16(0xFF);
    __m512i hi = _mm512_ternarylogic_epi32(low, odd, _mm512_srli_epi16(even, 8), 0xAE); /* (odd & ~low) | even >> 8 */
    /* (even & low) | odd << 8 */
    _mm512_store_si512(at, _mm512_ternarylogic_epi32(even, low, _mm512_slli_epi16(odd, 8), 0xEA));
    _mm512_store_si512(at + HYB_PANEL256_HIGH, flip ? _mm512_xor_si512(hi, _mm512_set1_epi8((char)flip)) : hi);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_product_avx512(__m512i q, __m512i sc, char *at)
{
    hyb_store_planes_avx512(_mm512_mullo_epi16(_mm512_and_si512(q, _mm512_set1_epi16(0xFF)), sc),
                            _mm512_mullo_epi16(_mm512_srli_epi16(q, 8), sc), 0, at);
}
/* Bytes 0 and 1 of every dword of v as a pair of words, then bytes 2 and 3; times a power of two. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_pairs_avx512(__m512i v, unsigned shift, char *to)
{
    const __m512i at = _mm512_set4_epi32((int)0x800D800C, (int)0x80098008, (int)0x80058004, (int)0x80018000);
    int j;
    for (j = 0; j < 2; j++) {
        const __m512i pairs = _mm512_shuffle_epi8(v, _mm512_add_epi8(at, _mm512_set1_epi16((short)(2 * j))));
        _mm512_store_si512(to + j * 64, _mm512_slli_epi16(pairs, shift));
    }
}
/* Mins of 4 sub-blocks of 16 (a byte each of every dword) to the two forms of the panel; first: the number of the
 * first one. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_mins_avx512(__m512i m, int first, char *panel)
{
    int j;
    for (j = 0; j < 4; j++) {
        __m512i f = _mm512_castps_si512(
            _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(m, (unsigned)(8 * j)), _mm512_set1_epi32(255))));
        _mm512_store_si512(panel + HYB_PANEL256_MB + (first + j) * 64, _mm512_or_si512(f, _mm512_srli_epi32(f, 16)));
    }
    hyb_store_pairs_avx512(m, 0, panel + HYB_PANEL256_MS + first / 2 * 64);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_heads_avx512(__m512i heads, bool affine, char *d)
{
    _mm512_store_ps((float *)(void *)d, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads)));
    if (affine)
        _mm512_store_ps((float *)(void *)(d + 64),
                        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(heads, 16))));
}

/* Without AMX: the scale of sub-block s of 16 rows. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_store_apart_avx512(__m512i words, int s, char *panel)
{
    _mm512_store_si512(panel + HYB_APART256_SC + s * 64, _mm512_and_si512(words, _mm512_set1_epi32(0xFFFF)));
}

HYB_TARGET_AVX512 static void hyb_panel_q2_K(const char *const *rows, size_t from, char *panel)
{
    __m512i o[4], sc[4];
    int h, p, t, j;
    hyb_piece_avx512(rows, from, o);
    for (j = 0; j < 4; j++) {
        sc[j] = _mm512_and_si512(o[j], _mm512_set1_epi8(15));
        hyb_store_mins_avx512(_mm512_and_si512(_mm512_srli_epi16(o[j], 4), _mm512_set1_epi8(15)), j * 4, panel);
    }
    hyb_store_heads_avx512(hyb_dwords_avx512(rows, from + 80), true, panel + HYB_PANEL256_D);
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx512(rows, from + 16 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                int s = 8 * h + 2 * t + p;
                __m512i scale = hyb_scale_words_avx512(sc[s / 4], s, false);
                for (j = 0; j < 4; j++) /* two products of at most 45 in one word */
                    _mm512_store_si512(panel + (s * 4 + j) * 64,
                                       _mm512_mullo_epi16(_mm512_and_si512(_mm512_srl_epi16(o[j],
                                                                                            _mm_cvtsi32_si128(2 * t)),
                                                                           _mm512_set1_epi8(3)),
                                                          scale));
            }
        }
}

HYB_TARGET_AVX512 static void hyb_panel_q3_K(const char *const *rows, size_t from, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), high2 = _mm512_set1_epi8(0x30), byte = _mm512_set1_epi16(0xFF),
                  four = _mm512_set1_epi16(4);
    __m512i o[4], sc[4], hm[2][4];
    int h, p, t, j;
    hyb_transpose_avx512(_mm512_bsrli_epi128(hyb_rows4_avx512(rows, 0, from + 94), 2),
                         _mm512_bsrli_epi128(hyb_rows4_avx512(rows, 1, from + 94), 2),
                         _mm512_bsrli_epi128(hyb_rows4_avx512(rows, 2, from + 94), 2),
                         _mm512_bsrli_epi128(hyb_rows4_avx512(rows, 3, from + 94), 2), o);
    sc[0] = _mm512_or_si512(_mm512_and_si512(o[0], low4), _mm512_and_si512(_mm512_slli_epi16(o[2], 4), high2));
    sc[1] = _mm512_or_si512(_mm512_and_si512(o[1], low4), _mm512_and_si512(_mm512_slli_epi16(o[2], 2), high2));
    sc[2] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[0], 4), low4), _mm512_and_si512(o[2], high2));
    sc[3] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[1], 4), low4),
                            _mm512_and_si512(_mm512_srli_epi16(o[2], 2), high2));
    for (j = 0; j < 4; j++) sc[j] = _mm512_sub_epi8(sc[j], _mm512_set1_epi8(32));
    hyb_store_heads_avx512(o[3], false, panel + HYB_PANEL256_D);
    hyb_piece_avx512(rows, from, hm[0]);
    hyb_piece_avx512(rows, from + 16, hm[1]);
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx512(rows, from + 32 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                int s = 8 * h + 2 * t + p;
                __m512i scale = hyb_scale_words_avx512(sc[s / 4], s, true);
                __m128i low_by = _mm_cvtsi32_si128(2 * t), high_by = _mm_cvtsi32_si128(4 * h + t);
                for (j = 0; j < 4; j++) {
                    __m512i q = _mm512_and_si512(_mm512_srl_epi16(o[j], low_by), _mm512_set1_epi8(3)), even, odd;
                    q = _mm512_or_si512(q, _mm512_slli_epi16(_mm512_and_si512(_mm512_srl_epi16(hm[p][j], high_by),
                                                                              _mm512_set1_epi8(1)),
                                                             2));
                    even = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(q, byte), four), scale);
                    odd = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16(q, 8), four), scale);
                    q = _mm512_ternarylogic_epi32(even, byte, _mm512_slli_epi16(odd, 8), 0xEA);
                    /* -124..128 */
                    _mm512_store_si512(panel + (s * 4 + j) * 64, _mm512_add_epi8(q, _mm512_set1_epi8(124)));
                }
            }
        }
}

/* Q4_K, and Q5_K with its fifth bits. apart: as without AMX. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_panel_k45_avx512(const char *const *rows, size_t from, bool five, bool apart,
                                                       char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), low6 = _mm512_set1_epi8(0x3F), high2 = _mm512_set1_epi8(0x30),
                  bit4 = _mm512_set1_epi8(16);
    __m512i o[4], sc[2], m[2], qh[2][4];
    int c, p, j, s;
    hyb_piece_avx512(rows, from, o); /* d, dmin; the 12 bytes of scales and mins */
    hyb_store_heads_avx512(o[0], true, panel + (apart ? HYB_APART256_D : HYB_PANEL256_D));
    sc[0] = _mm512_and_si512(o[1], low6);
    sc[1] = _mm512_or_si512(_mm512_and_si512(o[3], low4), _mm512_and_si512(_mm512_srli_epi16(o[1], 2), high2));
    m[0] = _mm512_and_si512(o[2], low6);
    m[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[3], 4), low4),
                           _mm512_and_si512(_mm512_srli_epi16(o[2], 2), high2));
    for (j = 0; apart && j < 2; j++) {
        hyb_store_pairs_avx512(m[j], 0, panel + HYB_APART256_M + j * 128);
        if (five) hyb_store_pairs_avx512(sc[j], 4, panel + HYB_APART256_R + j * 128);
    }
    for (j = 0; !apart && j < 4; j++) { /* each min counts for two groups of 16 */
        __m512i at = _mm512_add_epi8(_mm512_set4_epi32(0x0D0D0C0C, 0x09090808, 0x05050404, 0x01010000),
                                     _mm512_set1_epi8((char)(j % 2 * 2)));
        hyb_store_mins_avx512(_mm512_shuffle_epi8(m[j / 2], at), j * 4, panel);
    }
    if (five) {
        hyb_piece_avx512(rows, from + 16, qh[0]);
        hyb_piece_avx512(rows, from + 32, qh[1]);
    }
    for (c = 0; c < 4; c++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx512(rows, from + (size_t)((five ? 48 : 16) + 32 * c + 16 * p), o);
            for (s = 2 * c; s < 2 * c + 2; s++) {
                __m512i scale = hyb_scale_words_avx512(sc[s / 4], s, false);
                if (apart) hyb_store_apart_avx512(scale, s, panel);
                for (j = 0; j < 4; j++) {
                    char *to = panel + (s * 8 + p * 4 + j) * 64;
                    __m512i q = _mm512_and_si512(s % 2 ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
                    if (five)
                        q = _mm512_ternarylogic_epi32(q, _mm512_rolv_epi32(qh[p][j], _mm512_set1_epi32(4 - s)), bit4,
                                                      0xF8);
                    if (apart)
                        _mm512_store_si512(to, q);
                    else
                        hyb_store_product_avx512(q, scale, to);
                }
            }
        }
}
HYB_TARGET_AVX512 static void hyb_panel_q4_K(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k45_avx512(rows, from, false, false, panel);
}
HYB_TARGET_AVX512 static void hyb_panel_q5_K(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k45_avx512(rows, from, true, false, panel);
}

HYB_TARGET_AVX512 static void hyb_panel_q4_K_apart(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k45_avx512(rows, from, false, true, panel);
}
HYB_TARGET_AVX512 static void hyb_panel_q5_K_apart(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k45_avx512(rows, from, true, true, panel);
}

HYB_INLINE HYB_TARGET_AVX512 void hyb_panel_k6_avx512(const char *const *rows, size_t from, bool apart, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), high2 = _mm512_set1_epi8(0x30), byte = _mm512_set1_epi16(0xFF),
                  off = _mm512_set1_epi16(32);
    __m512i o[4], sc[4], qh[2][4];
    int h, p, n, j;
    hyb_piece_avx512(rows, from + 192, sc);
    _mm512_store_ps((float *)(void *)(panel + (apart ? HYB_APART256_D : HYB_PANEL256_D)),
                    hyb_floats_avx512(rows, from + 208));
    for (h = 0; h < 2; h++) {
        hyb_piece_avx512(rows, from + 128 + (size_t)(32 * h), qh[0]);
        hyb_piece_avx512(rows, from + 128 + (size_t)(32 * h + 16), qh[1]);
        for (p = 0; p < 4; p++) {
            hyb_piece_avx512(rows, from + (size_t)(64 * h + 16 * p), o);
            for (n = 0; n < 2; n++) { /* low, high nibbles */
                int s = 8 * h + 4 * n + p;
                __m512i scale = hyb_scale_words_avx512(sc[s / 4], s, true),
                        by = _mm512_set1_epi32(4 - (4 * n + p / 2 * 2));
                if (apart) hyb_store_apart_avx512(scale, s, panel);
                for (j = 0; j < 4; j++) {
                    char *to = panel + (s * 4 + j) * 64;
                    __m512i q = _mm512_and_si512(n ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
                    q = _mm512_ternarylogic_epi32(q, _mm512_rolv_epi32(qh[p % 2][j], by), high2, 0xF8);
                    if (apart)
                        _mm512_store_si512(to, q);
                    else
                        hyb_store_planes_avx512(
                            _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(q, byte), off), scale),
                            _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16(q, 8), off), scale), 0x80, to);
                }
            }
        }
    }
}
HYB_TARGET_AVX512 static void hyb_panel_q6_K(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k6_avx512(rows, from, false, panel);
}
HYB_TARGET_AVX512 static void hyb_panel_q6_K_apart(const char *const *rows, size_t from, char *panel)
{
    hyb_panel_k6_avx512(rows, from, true, panel);
}

    #define HYB_PANEL32_TYPE(type, qs, qh, bytes, affine, offset) \
        HYB_TARGET_AVX512 static void hyb_panel_##type(const char *const *rows, size_t from, char *panel) \
        { \
            hyb_panel32_avx512(rows, from, qs, qh, bytes, affine, offset, panel); \
        }
HYB_PANEL32_TYPE(q4_0, 2, 0, false, false, 8)
HYB_PANEL32_TYPE(q4_1, 4, 0, false, true, 0)
HYB_PANEL32_TYPE(q5_0, 6, 2, false, false, 16)
HYB_PANEL32_TYPE(q5_1, 8, 4, false, true, 0)
HYB_PANEL32_TYPE(q8_0, 2, 0, true, false, 0)
    #undef HYB_PANEL32_TYPE

#endif
#endif
