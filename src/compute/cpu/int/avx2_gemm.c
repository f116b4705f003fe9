/* compute/cpu/int/avx2_gemm: prefill of integer blocks with AVX2: panels of weights as bytes, tiles of activations.
 *
 * A panel is 16 rows of weights, unpacked once and multiplied with all rows of activations: for every 4 k, 16 rows x
 * 4 unsigned bytes. Bytes are multiplied by vpmaddubsw (unsigned x signed, pairs summed in 16 bits) and stay 16-bit
 * sums as long as their type allows: 16 products of 4 or 5 bits, 8 of 6 bits; an offset goes into the value that the
 * sum starts with, so that only the end of the sum has to fit. The tile is int/tile.inc;
 * processors with AVX-VNNI (vpdpbusd, 4 products to 32 bits) run the same text with another product.
 *
 * The 8 sums p[b % 8] of NUMERICS.md lie in memory that stays in L1, block by block in the order of the file. */
#ifndef HYB_COMPUTE_CPU_INT_AVX2_GEMM_C
#define HYB_COMPUTE_CPU_INT_AVX2_GEMM_C
#include "avx2.c"

#if defined(HYB_X86)

    #if defined(__GNUC__) && !defined(__clang__)
        #define HYB_KEEP(v) __asm__("" : "+x"(v))
    #else
        #define HYB_KEEP(v) HYB_UNUSED(0)
    #endif

/* ---- activations: q as int8, d (floats), and
 * of 32-weight blocks: s: sums of q (floats); e: minus the sums of q as pairs of int16: of those at 4i and 4i + 1, and
 * of those at 4i + 2 and 4i + 3;
 * of super-blocks: e of every 16 and of every 32, sums of q of every 16 and of every 32 (int16). ---- */
HYB_INLINE size_t hyb_byte32_d(int64_t k) { return hyb_align((size_t)k, 64); }
HYB_INLINE size_t hyb_byte32_part(int64_t k) { return hyb_align((size_t)k / 8, 64); }
static size_t hyb_byte32_bytes(int64_t k) { return (hyb_byte32_d(k) + 3 * hyb_byte32_part(k)) | 64; }
HYB_INLINE size_t hyb_byte256_e16(int64_t k) { return (size_t)k; }
HYB_INLINE size_t hyb_byte256_e32(int64_t k) { return hyb_byte256_e16(k) + (size_t)k / 4; }
HYB_INLINE size_t hyb_byte256_s16(int64_t k) { return hyb_byte256_e32(k) + (size_t)k / 8; }
HYB_INLINE size_t hyb_byte256_s32(int64_t k) { return hyb_byte256_s16(k) + (size_t)k / 8; }
HYB_INLINE size_t hyb_byte256_d(int64_t k) { return hyb_byte256_s32(k) + (size_t)k / 16; }
static size_t hyb_byte256_bytes(int64_t k) { return hyb_align(hyb_byte256_d(k) + (size_t)k / 64, 64) | 64; }

HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_put_avx2(char *at, __m256i v) { _mm256_store_si256((__m256i *)(void *)at, v); }
/* 32 floats to int8, stored at q; returns sums of pairs: dword i: q[4i] + q[4i + 1], q[4i + 2] + q[4i + 3].
 * id: 1/d, 0 where all become zeros. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_byte_quant_avx2(const float *x, __m256 id, char *q)
{
    const __m256i keep = _mm256_castps_si256(_mm256_cmp_ps(id, _mm256_setzero_ps(), _CMP_GT_OQ));
    __m256i v[4];
    int i;
    HYB_UNROLL
    for (i = 0; i < 4; i++) v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), id));
    v[0] = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    v[0] = _mm256_and_si256(_mm256_permutevar8x32_epi32(v[0], _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)), keep);
    hyb_byte_put_avx2(q, v[0]);
    return _mm256_maddubs_epi16(_mm256_set1_epi8(1), v[0]);
}
/* The largest |x| of 32 floats, 8 lanes of them. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_byte_most_avx2(const float *x)
{
    const __m256i abs = _mm256_set1_epi32(0x7FFFFFFF);
    #define HYB_A(i) _mm256_and_si256(hyb_load_avx2(x + 8 * (i)), abs)
    return _mm256_max_epu32(_mm256_max_epu32(HYB_A(0), HYB_A(1)), _mm256_max_epu32(HYB_A(2), HYB_A(3)));
    #undef HYB_A
}
    /* Lane L, dword e of the four: lane L of v[e], reduced by op. */
    #define HYB_BYTE_REDUCE(op, v) \
        op(_mm256_unpacklo_epi64(op(_mm256_unpacklo_epi32((v)[0], (v)[1]), _mm256_unpackhi_epi32((v)[0], (v)[1])), \
                                 op(_mm256_unpacklo_epi32((v)[2], (v)[3]), _mm256_unpackhi_epi32((v)[2], (v)[3]))), \
           _mm256_unpackhi_epi64(op(_mm256_unpacklo_epi32((v)[0], (v)[1]), _mm256_unpackhi_epi32((v)[0], (v)[1])), \
                                 op(_mm256_unpacklo_epi32((v)[2], (v)[3]), _mm256_unpackhi_epi32((v)[2], (v)[3]))))
/* d and 1/d of 8 blocks from the largest |x|; see hyb_act_inverse. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_byte_scale_avx2(__m256i most, __m256 *id)
{
    const __m256 d = _mm256_div_ps(_mm256_castsi256_ps(most), _mm256_set1_ps(127.0f));
    const __m256 normal = _mm256_cmp_ps(d, _mm256_set1_ps(1.17549435e-38f), _CMP_GE_OQ);
    const __m256 finite = _mm256_cmp_ps(d, _mm256_set1_ps(3.402823466e+38f), _CMP_LE_OQ);
    *id = _mm256_and_ps(_mm256_div_ps(_mm256_set1_ps(1.0f), d), _mm256_and_ps(normal, finite));
    return d;
}

/* 8 blocks of 32 floats, of which count go to block b and on of a row. */
HYB_TARGET_AVX2 static void hyb_byte32_group(const float *x, int count, int64_t b, int64_t k, char *act)
{
    const size_t part = hyb_byte32_part(k);
    char *base = act + hyb_byte32_d(k) + b * 4;
    __m256i v[8], low, high;
    __m256 d, id;
    HYB_ALIGN64 char q[32];
    HYB_ALIGN64 float ids[8];
    int32_t first[3][8];
    int i;
    for (i = 0; i < 8; i++) v[i] = hyb_byte_most_avx2(x + 32 * i);
    low = HYB_BYTE_REDUCE(_mm256_max_epu32, v);
    high = HYB_BYTE_REDUCE(_mm256_max_epu32, v + 4);
    d = hyb_byte_scale_avx2(_mm256_max_epu32(_mm256_permute2x128_si256(low, high, 0x20),
                                             _mm256_permute2x128_si256(low, high, 0x31)),
                            &id);
    _mm256_store_ps(ids, id);
    for (i = 0; i < 8; i++) {
        char *to = i < count ? act + (b + i) * 32 : q;
        v[i] = hyb_byte_quant_avx2(x + 32 * i, _mm256_set1_ps(ids[i]), to);
    }
    low = HYB_BYTE_REDUCE(_mm256_add_epi16, v);
    high = HYB_BYTE_REDUCE(_mm256_add_epi16, v + 4);
    low = _mm256_add_epi16(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
    _mm256_storeu_ps((float *)(void *)first[0], d);
    _mm256_storeu_ps((float *)(void *)first[1], _mm256_cvtepi32_ps(_mm256_madd_epi16(low, _mm256_set1_epi16(1))));
    _mm256_storeu_si256((__m256i *)(void *)first[2], _mm256_sub_epi16(_mm256_setzero_si256(), low));
    for (i = 0; i < 3; i++) memcpy(base + (size_t)i * part, first[i], (size_t)count * 4);
}
HYB_TARGET_AVX2 static void hyb_byte32_prepare(const float *x, int64_t k, void *act)
{
    int64_t b, blocks = k / 32;
    HYB_ALIGN64 float rest[256];
    for (b = 0; b + 8 <= blocks; b += 8, x += 256) hyb_byte32_group(x, 8, b, k, (char *)act);
    if (b == blocks) return;
    memset(rest, 0, sizeof rest);
    memcpy(rest, x, (size_t)(blocks - b) * 32 * sizeof *x);
    hyb_byte32_group(rest, (int)(blocks - b), b, k, (char *)act);
}
HYB_TARGET_AVX2 static void hyb_byte256_prepare(const float *x, int64_t k, void *act)
{
    char *at = (char *)act, *e16 = at + hyb_byte256_e16(k), *e32 = at + hyb_byte256_e32(k);
    char *s16 = at + hyb_byte256_s16(k), *s32 = at + hyb_byte256_s32(k);
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi16(1);
    int64_t b;
    int i;
    for (b = 0; b < k / 256; b++, x += 256) {
        __m256i v[8], most = zero, pairs[2], low, high;
        __m128i m;
        __m256 d, id;
        for (i = 0; i < 8; i++) most = _mm256_max_epu32(most, hyb_byte_most_avx2(x + 32 * i));
        m = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
        d = hyb_byte_scale_avx2(_mm256_broadcastd_epi32(m), &id);
        _mm_store_ss((float *)(void *)(at + hyb_byte256_d(k) + b * 4), _mm256_castps256_ps128(d));
        for (i = 0; i < 8; i++) v[i] = hyb_byte_quant_avx2(x + 32 * i, id, at + b * 256 + 32 * i);
        for (i = 0; i < 2; i++) { /* lane 0 (1), dword e: the first (second) 16 of the e-th 32 */
            const __m256i sum = HYB_BYTE_REDUCE(_mm256_add_epi16, v + 4 * i);
            pairs[i] = _mm256_sub_epi16(zero, _mm256_permute4x64_epi64(sum, 0xD8));
        }
        for (i = 0; i < 2; i++) {
            low = _mm256_unpacklo_epi32(pairs[i], _mm256_unpackhi_epi64(pairs[i], pairs[i]));
            _mm256_storeu_si256((__m256i *)(void *)(e16 + b * 64 + 32 * i), low);
            v[i] = _mm256_madd_epi16(low, _mm256_sub_epi16(zero, one));
        }
        low = _mm256_add_epi16(_mm256_unpacklo_epi64(pairs[0], pairs[1]), _mm256_unpackhi_epi64(pairs[0], pairs[1]));
        low = _mm256_permute4x64_epi64(low, 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(e32 + b * 32), low);
        low = _mm256_madd_epi16(low, _mm256_sub_epi16(zero, one));
        high = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, low), 0xD8);
        _mm_storeu_si128((__m128i *)(void *)(s32 + b * 16), _mm256_castsi256_si128(high));
        high = _mm256_permute4x64_epi64(_mm256_packs_epi32(v[0], v[1]), 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(s16 + b * 32), high);
    }
}
static const hyb_act_format hyb_byte32_avx2 = { hyb_byte32_bytes, hyb_byte32_prepare };
static const hyb_act_format hyb_byte256_avx2 = { hyb_byte256_bytes, hyb_byte256_prepare };

/* ---- panels ----
 * Of a 32-weight block: 8 x (16 rows x 4 weights); Q8_0: |w|, then 8 of masks (0xFF where w is negative). d[16]; m[16]
 * (floats; Q8_0: int32, sums of |w| where w is negative, plus the bits of 1.5 * 2^23); 1.5 * 2^23 * d[16].
 * Of a super-block: 64 x (16 rows x 4 weights); scales of 16 (or 8) sub-blocks: 16 rows x 2 equal int16; mins of pairs
 * of sub-blocks: 16 rows x 2 int16; the same pairs of scales times the offset; d[16], dmin[16]. */
enum {
    HYB_BYTE32_MASK = 512,
    HYB_BYTE32_D = 1024,
    HYB_BYTE32_M = 1088,
    HYB_BYTE32_OFF = 1152,
    HYB_BYTE32 = 1216,
    HYB_BYTE256_SC = 4096,
    HYB_BYTE256_M = 5120,
    HYB_BYTE256_R = 5632,
    HYB_BYTE256_D = 5888,
    HYB_BYTE256 = 6016
};

/* Dwords j of 8 rows of 16 bytes at `at`, to o[j]. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_piece_avx2(const char *const *rows, size_t at, __m256i o[4])
{
    __m256i v0 = hyb_two_avx2(rows[0] + at, rows[4] + at), v1 = hyb_two_avx2(rows[1] + at, rows[5] + at);
    __m256i v2 = hyb_two_avx2(rows[2] + at, rows[6] + at), v3 = hyb_two_avx2(rows[3] + at, rows[7] + at);
    __m256i t0 = _mm256_unpacklo_epi32(v0, v1), t1 = _mm256_unpackhi_epi32(v0, v1);
    __m256i t2 = _mm256_unpacklo_epi32(v2, v3), t3 = _mm256_unpackhi_epi32(v2, v3);
    o[0] = _mm256_unpacklo_epi64(t0, t2);
    o[1] = _mm256_unpackhi_epi64(t0, t2);
    o[2] = _mm256_unpacklo_epi64(t1, t3);
    o[3] = _mm256_unpackhi_epi64(t1, t3);
}
/* The 4 bytes at `at` of 8 rows. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_dwords_avx2(const char *const *rows, size_t at)
{
    #define HYB_DWORD(i) (int)hyb_load_u32(rows[i] + at)
    return _mm256_set_epi32(HYB_DWORD(7), HYB_DWORD(6), HYB_DWORD(5), HYB_DWORD(4), HYB_DWORD(3), HYB_DWORD(2),
                            HYB_DWORD(1), HYB_DWORD(0));
    #undef HYB_DWORD
}
/* Halves in the low words of heads to floats at `at`, those in the high words 64 bytes on. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_heads_avx2(char *at, __m256i heads)
{
    _mm256_store_ps((float *)(void *)at, hyb_halfs_avx2(heads));
    _mm256_store_ps((float *)(void *)(at + 64), hyb_halfs_avx2(_mm256_srli_epi32(heads, 16)));
}

HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_heads32_avx2(char *panel, __m256i heads)
{
    float *d = (float *)(void *)(panel + HYB_BYTE32_D), *off = (float *)(void *)(panel + HYB_BYTE32_OFF);
    hyb_byte_heads_avx2(panel + HYB_BYTE32_D, heads);
    _mm256_store_ps(off, _mm256_mul_ps(_mm256_load_ps(d), _mm256_set1_ps(12582912.0f)));
}

/* Nibbles, and fifth bits where qh is not 0, of one block of 8 rows. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_nibbles_avx2(const char *const *rows, size_t qs, size_t qh, char *panel)
{
    const __m256i each = _mm256_set_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0, 0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    __m256i o[4], h = qh ? hyb_dwords_avx2(rows, qh) : _mm256_setzero_si256();
    int half, j;
    hyb_piece_avx2(rows, qs, o);
    HYB_UNROLL
    for (half = 0; half < 2; half++) {
        HYB_UNROLL
        for (j = 0; j < 4; j++) {
            __m256i q = hyb_field_avx2(o[j], 4 * half, 15);
            if (qh) { /* 4 bits of h to bit 4 of 4 bytes */
                __m256i bit = _mm256_set1_epi32(j % 2 ? (int)0x80402010u : 0x08040201);
                __m256i v = _mm256_shuffle_epi8(h, _mm256_add_epi8(each, _mm256_set1_epi8((char)(half * 2 + j / 2))));
                v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
                q = _mm256_or_si256(q, _mm256_and_si256(v, _mm256_set1_epi8(16)));
            }
            hyb_byte_put_avx2(panel + half * 256 + j * 64, q);
        }
    }
    hyb_byte_heads32_avx2(panel, hyb_dwords_avx2(rows, 0));
}
    #define HYB_BYTE_NIBBLES(type, qs, qh) \
        HYB_TARGET_AVX2 static void hyb_byte_##type(const char *const *rows, char *panel) \
        { \
            hyb_byte_nibbles_avx2(rows, qs, qh, panel); \
        }
HYB_BYTE_NIBBLES(q4_0, 2, 0)
HYB_BYTE_NIBBLES(q4_1, 4, 0)
HYB_BYTE_NIBBLES(q5_0, 6, 2)
HYB_BYTE_NIBBLES(q5_1, 8, 4)
    #undef HYB_BYTE_NIBBLES

HYB_TARGET_AVX2 static void hyb_byte_q8_0(const char *const *rows, char *panel)
{
    __m256i o[4], sum = _mm256_set1_epi32(0x4B400000);
    int half, j;
    HYB_UNROLL
    for (half = 0; half < 2; half++) {
        hyb_piece_avx2(rows, 2 + 16 * (size_t)half, o);
        HYB_UNROLL
        for (j = 0; j < 4; j++) {
            __m256i size = _mm256_abs_epi8(o[j]), mask = _mm256_cmpgt_epi8(_mm256_setzero_si256(), o[j]);
            hyb_byte_put_avx2(panel + half * 256 + j * 64, size);
            hyb_byte_put_avx2(panel + HYB_BYTE32_MASK + half * 256 + j * 64, mask);
            size = _mm256_maddubs_epi16(_mm256_and_si256(size, mask), _mm256_set1_epi8(1));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(size, _mm256_set1_epi16(1)));
        }
    }
    hyb_byte_heads32_avx2(panel, hyb_dwords_avx2(rows, 0));
    hyb_byte_put_avx2(panel + HYB_BYTE32_M, sum);
}

/* Q8_0 for whole sums: 128 more than it is. */
HYB_TARGET_AVX2 static void hyb_byte_q8_0_plus128(const char *const *rows, char *panel)
{
    const __m256i top = _mm256_set1_epi8(-128);
    __m256i o[4];
    int half, j;
    HYB_UNROLL
    for (half = 0; half < 2; half++) {
        hyb_piece_avx2(rows, 2 + 16 * (size_t)half, o);
        HYB_UNROLL
        for (j = 0; j < 4; j++) hyb_byte_put_avx2(panel + half * 256 + j * 64, _mm256_xor_si256(o[j], top));
    }
    hyb_byte_heads32_avx2(panel, hyb_dwords_avx2(rows, 0));
}

/* Byte j of every dword of v, extended to both words (by way of their high bytes). */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_byte_words_avx2(__m256i v, int j, bool is_signed)
{
    const __m256i at = _mm256_set_epi32((int)0x0C800C80, (int)0x08800880, (int)0x04800480, (int)0x00800080,
                                        (int)0x0C800C80, (int)0x08800880, (int)0x04800480, (int)0x00800080);
    v = _mm256_shuffle_epi8(v, _mm256_add_epi8(at, _mm256_set1_epi16((short)(j << 8))));
    return is_signed ? _mm256_srai_epi16(v, 8) : _mm256_srli_epi16(v, 8);
}
/* Scales of sub-blocks 4i .. 4i + 3: a byte each of every dword. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_scales_avx2(__m256i v, int i, bool is_signed, char *panel)
{
    char *to = panel + HYB_BYTE256_SC + 4 * i * 64;
    int j;
    HYB_UNROLL
    for (j = 0; j < 4; j++) hyb_byte_put_avx2(to + j * 64, hyb_byte_words_avx2(v, j, is_signed));
}
/* Bytes 0 and 1 of every dword as its words, and bytes 2 and 3; times 2^shift. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_pairs_avx2(__m256i v, int i, int shift, char *to)
{
    const __m256i at = _mm256_set_epi32((int)0x800D800C, (int)0x80098008, (int)0x80058004, (int)0x80018000,
                                        (int)0x800D800C, (int)0x80098008, (int)0x80058004, (int)0x80018000);
    int j;
    HYB_UNROLL
    for (j = 0; j < 2; j++) {
        __m256i words = _mm256_shuffle_epi8(v, _mm256_add_epi8(at, _mm256_set1_epi16((short)(2 * j))));
        hyb_byte_put_avx2(to + (2 * i + j) * 64, _mm256_slli_epi16(words, shift));
    }
}

HYB_TARGET_AVX2 static void hyb_byte_q2_K(const char *const *rows, char *panel)
{
    __m256i o[4];
    int h, p, t, j;
    hyb_piece_avx2(rows, 0, o);
    HYB_UNROLL
    for (j = 0; j < 4; j++) {
        hyb_byte_scales_avx2(hyb_field_avx2(o[j], 0, 15), j, false, panel);
        hyb_byte_pairs_avx2(hyb_field_avx2(o[j], 4, 15), j, 0, panel + HYB_BYTE256_M);
    }
    hyb_byte_heads_avx2(panel + HYB_BYTE256_D, hyb_dwords_avx2(rows, 80));
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx2(rows, 16 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                char *to = panel + (8 * h + 2 * t + p) * 256;
                HYB_UNROLL
                for (j = 0; j < 4; j++) hyb_byte_put_avx2(to + j * 64, hyb_field_avx2(o[j], 2 * t, 3));
            }
        }
}

HYB_TARGET_AVX2 static void hyb_byte_q3_K(const char *const *rows, char *panel)
{
    const __m256i off = _mm256_set1_epi8(32);
    __m256i o[4], hm[2][4];
    int h, p, t, j;
    HYB_UNROLL
    for (j = 0; j < 4; j++) { /* the last 12 bytes of scales, then d */
        __m256i low = hyb_dwords_avx2(rows, 96 + 4 * (size_t)(j % 2)), high = hyb_dwords_avx2(rows, 104);
        low = _mm256_or_si256(hyb_field_avx2(low, j / 2 * 4, 15), hyb_field_avx2(high, 2 * j - 4, 0x30));
        hyb_byte_scales_avx2(_mm256_sub_epi8(low, off), j, true, panel);
    }
    hyb_byte_heads_avx2(panel + HYB_BYTE256_D, _mm256_srli_epi32(hyb_dwords_avx2(rows, 106), 16));
    hyb_piece_avx2(rows, 0, hm[0]);
    hyb_piece_avx2(rows, 16, hm[1]);
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx2(rows, 32 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                HYB_UNROLL
                for (j = 0; j < 4; j++) {
                    __m256i q = hyb_field_avx2(o[j], 2 * t, 3);
                    __m256i high = hyb_field_avx2(hm[p][j], 4 * h + t - 2, 4);
                    hyb_byte_put_avx2(panel + ((8 * h + 2 * t + p) * 4 + j) * 64, _mm256_or_si256(q, high));
                }
            }
        }
}

/* Q4_K, and Q5_K with its fifth bits. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_k45_avx2(const char *const *rows, bool five, char *panel)
{
    const __m256i low6 = _mm256_set1_epi8(0x3F);
    __m256i o[4], sc[2], m[2], qh[2][4];
    int c, p, j, s;
    hyb_piece_avx2(rows, 0, o); /* d, dmin; the 12 bytes of scales and mins */
    hyb_byte_heads_avx2(panel + HYB_BYTE256_D, o[0]);
    sc[0] = _mm256_and_si256(o[1], low6);
    sc[1] = _mm256_or_si256(hyb_field_avx2(o[3], 0, 15), hyb_field_avx2(o[1], 2, 0x30));
    m[0] = _mm256_and_si256(o[2], low6);
    m[1] = _mm256_or_si256(hyb_field_avx2(o[3], 4, 15), hyb_field_avx2(o[2], 2, 0x30));
    HYB_UNROLL
    for (j = 0; j < 2; j++) {
        hyb_byte_scales_avx2(sc[j], j, false, panel);
        hyb_byte_pairs_avx2(m[j], j, 0, panel + HYB_BYTE256_M);
        if (five) hyb_byte_pairs_avx2(sc[j], j, 4, panel + HYB_BYTE256_R);
    }
    if (five) {
        hyb_piece_avx2(rows, 16, qh[0]);
        hyb_piece_avx2(rows, 32, qh[1]);
    }
    for (c = 0; c < 4; c++)
        for (p = 0; p < 2; p++) {
            hyb_piece_avx2(rows, (size_t)((five ? 48 : 16) + 32 * c + 16 * p), o);
            for (s = 2 * c; s < 2 * c + 2; s++) {
                HYB_UNROLL
                for (j = 0; j < 4; j++) {
                    __m256i q = hyb_field_avx2(o[j], s % 2 * 4, 15);
                    if (five) q = _mm256_or_si256(q, hyb_field_avx2(qh[p][j], s - 4, 16));
                    hyb_byte_put_avx2(panel + (s * 8 + p * 4 + j) * 64, q);
                }
            }
        }
}
HYB_TARGET_AVX2 static void hyb_byte_q4_K(const char *const *rows, char *panel)
{
    hyb_byte_k45_avx2(rows, false, panel);
}
HYB_TARGET_AVX2 static void hyb_byte_q5_K(const char *const *rows, char *panel)
{
    hyb_byte_k45_avx2(rows, true, panel);
}

HYB_TARGET_AVX2 static void hyb_byte_q6_K(const char *const *rows, char *panel)
{
    __m256i o[4], qh[2][4];
    int h, p, n, j;
    hyb_piece_avx2(rows, 192, o);
    HYB_UNROLL
    for (j = 0; j < 4; j++) hyb_byte_scales_avx2(o[j], j, true, panel);
    hyb_byte_heads_avx2(panel + HYB_BYTE256_D, _mm256_srli_epi32(hyb_dwords_avx2(rows, 206), 16));
    for (h = 0; h < 2; h++) {
        hyb_piece_avx2(rows, 128 + (size_t)(32 * h), qh[0]);
        hyb_piece_avx2(rows, 128 + (size_t)(32 * h + 16), qh[1]);
        for (p = 0; p < 4; p++) {
            hyb_piece_avx2(rows, (size_t)(64 * h + 16 * p), o);
            for (n = 0; n < 2; n++) { /* low, high nibbles */
                HYB_UNROLL
                for (j = 0; j < 4; j++) {
                    __m256i q = hyb_field_avx2(o[j], 4 * n, 15);
                    q = _mm256_or_si256(q, hyb_field_avx2(qh[p % 2][j], 4 * n + p / 2 * 2 - 4, 0x30));
                    hyb_byte_put_avx2(panel + ((8 * h + 4 * n + p) * 4 + j) * 64, q);
                }
            }
        }
    }
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

enum {
    HYB_BYTE_COLUMNS = 8, /* rows of activations: while they pass, a chunk of a panel stays in L1 */
    HYB_BYTE_SUMS = 128,  /* floats from p[i] to p[i + 1]: 8 columns x 16 rows */
    HYB_BYTE_CHUNK = 256  /* weights of a row in a chunk */
};

typedef struct hyb_byte_tile {
    const char *panel; /* a whole panel: the blocks of 16 rows */
    int64_t k;
    int offset;  /* of the unsigned weights in the panel */
    bool affine; /* the type has mins */
} hyb_byte_tile;
HYB_ALIGN64 static const float hyb_byte_zeros[64] = { 0 };

HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_splat_avx2(const char *p) { return _mm256_set1_epi32((int)hyb_load_u32(p)); }
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_byte_splat_avx2(const char *p) { return _mm256_set1_ps(hyb_load_f32(p)); }

/* Sums of a block of 32 weights, as floats from 1.5 * 2^23 on, join those of the blocks before: out = t * d_x + in.
 * at: where d of the block lies in a row of x. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_byte_add32(const __m256i a[8], const char *panel, const char *const x[4], size_t at,
                                               size_t part, bool affine, const float *in, float *out)
{
    const float *d = (const float *)(const void *)(panel + HYB_BYTE32_D);
    const __m256 d0 = _mm256_load_ps(d), d1 = _mm256_load_ps(d + 8);
    int c, h;
    HYB_UNROLL
    for (c = 0; c < 4; c++) {
        const __m256 dx = hyb_byte_splat_avx2(x[c] + at);
        const __m256 s = affine ? hyb_byte_splat_avx2(x[c] + at + part) : dx;
        HYB_UNROLL
        for (h = 0; h < 2; h++) {
            __m256 t = _mm256_fmsub_ps(_mm256_castsi256_ps(a[2 * c + h]), h ? d1 : d0, _mm256_load_ps(d + 32 + 8 * h));
            if (affine) t = _mm256_fmadd_ps(_mm256_load_ps(d + 16 + 8 * h), s, t);
            _mm256_store_ps(out + 16 * c + 8 * h, _mm256_fmadd_ps(t, dx, _mm256_load_ps(in + 16 * c + 8 * h)));
        }
    }
}

/* Q8_0: a pair of products fills 16 bits. x * w = |w| * (x xor mask), and |w| more where w is negative. */
HYB_TARGET_AVX2 static HYB_NOINLINE void hyb_byte_tile32_signed_avx2(const hyb_byte_tile *tile, const char *const x[4],
                                                                     int64_t b, int count, float *sums)
{
    const __m256i one = _mm256_set1_epi16(1);
    const size_t d_at = hyb_byte32_d(tile->k);
    const char *panel = tile->panel + (size_t)b * HYB_BYTE32;
    int i, c, q;
    for (i = 0; i < count; i++, b++, panel += HYB_BYTE32) {
        float *out = sums + b % 8 * HYB_BYTE_SUMS;
        __m256i a[8];
        HYB_UNROLL
        for (c = 0; c < 8; c++) a[c] = hyb_load_avx2(panel + HYB_BYTE32_M + c % 2 * 32);
        HYB_UNROLL
        for (q = 0; q < 8; q++) {
            const char *w = panel + q * 64, *mask = w + HYB_BYTE32_MASK;
            __m256i w0 = hyb_load_avx2(w), w1 = hyb_load_avx2(w + 32);
            __m256i m0 = hyb_load_avx2(mask), m1 = hyb_load_avx2(mask + 32);
            HYB_UNROLL
            for (c = 0; c < 4; c++) {
                __m256i v = hyb_splat_avx2(x[c] + b * 32 + 4 * q);
                __m256i v0 = _mm256_maddubs_epi16(w0, _mm256_xor_si256(v, m0));
                __m256i v1 = _mm256_maddubs_epi16(w1, _mm256_xor_si256(v, m1));
                a[2 * c] = _mm256_add_epi32(a[2 * c], _mm256_madd_epi16(v0, one));
                HYB_KEEP(a[2 * c]);
                a[2 * c + 1] = _mm256_add_epi32(a[2 * c + 1], _mm256_madd_epi16(v1, one));
                HYB_KEEP(a[2 * c + 1]);
            }
        }
        hyb_byte_add32(a, panel, x, d_at + (size_t)b * 4, 0, false, b < 8 ? hyb_byte_zeros : out, out);
    }
}

/* ---- the loops around it ----------------------------------------------------------------------------------------- */

typedef struct hyb_byte_gemm {
    void (*unpack)(const char *const *rows, char *panel); /* a block of 8 rows */
    void (*tile)(const hyb_byte_tile *tile, const char *const x[4], int64_t b, int count, float *sums);
    size_t (*act_bytes)(int64_t k);
    int block, block_bytes, panel_bytes;
    int offset;
    bool affine;
} hyb_byte_gemm;

enum { HYB_BYTE_BUDGET = 256 << 10, HYB_BYTE_PANELS = 4 };

HYB_INLINE size_t hyb_byte_panel(const hyb_byte_gemm *g, int64_t k)
{
    return (size_t)(k / g->block) * (size_t)g->panel_bytes;
}
/* Panels unpacked at a time: what the second-level cache holds beside the activations. */
HYB_INLINE int hyb_byte_panels(const hyb_byte_gemm *g, int64_t k)
{
    size_t n = HYB_BYTE_BUDGET / hyb_byte_panel(g, k);
    return n < 1 ? 1 : n > HYB_BYTE_PANELS ? (int)HYB_BYTE_PANELS : (int)n;
}
static size_t hyb_byte_scratch(const hyb_byte_gemm *g, int64_t k)
{
    return hyb_byte_panel(g, k) * (size_t)hyb_byte_panels(g, k) + 8 * HYB_BYTE_SUMS * sizeof(float);
}

/* Rows r .. r + 15 (those from r1 on are r1 - 1 again) of w to a panel. The 16 rows after them come next: they are
 * fetched now. */
static void hyb_byte_unpack(const hyb_byte_gemm *g, const char *w, size_t row_bytes, int64_t k, int64_t r, int64_t r1,
                            char *panel)
{
    const char *rows[16], *next = w + (size_t)(r + 16) * row_bytes;
    size_t ahead = 0;
    int64_t b;
    int i;
    for (i = 0; i < 16; i++) rows[i] = w + (size_t)HYB_MIN(r + i, r1 - 1) * row_bytes;
    for (b = 0; b < k / g->block; b++, panel += g->panel_bytes) {
        for (; ahead < (size_t)(b + 1) * (size_t)g->block_bytes; ahead += 64)
            for (i = 0; i < 16; i++) HYB_PREFETCH(next + (size_t)i * row_bytes + ahead);
        g->unpack(rows, panel);
        g->unpack(rows + 8, panel + 32);
        for (i = 0; i < 16; i++) rows[i] += g->block_bytes;
    }
}

/* y[c * y_stride + i] = halve(p, 8) for n columns and the first `rows` of 16 rows. */
HYB_TARGET_AVX2 static void hyb_byte_finish(const float *sums, int n, int rows, float *y, int64_t y_stride)
{
    HYB_ALIGN64 float out[16];
    int c, h;
    for (c = 0; c < n; c++, sums += 16, y += y_stride) {
        for (h = 0; h < 16; h += 8) {
    #define HYB_P(i) _mm256_load_ps(sums + h + (i) * HYB_BYTE_SUMS)
            __m256 p04 = _mm256_add_ps(HYB_P(0), HYB_P(4)), p26 = _mm256_add_ps(HYB_P(2), HYB_P(6));
            __m256 p15 = _mm256_add_ps(HYB_P(1), HYB_P(5)), p37 = _mm256_add_ps(HYB_P(3), HYB_P(7));
    #undef HYB_P
            _mm256_store_ps(out + h, _mm256_add_ps(_mm256_add_ps(p04, p26), _mm256_add_ps(p15, p37)));
        }
        memcpy(y, out, (size_t)rows * sizeof *y);
    }
}

/* Up to 8 rows of activations times one panel. */
static void hyb_byte_columns(const hyb_byte_gemm *g, const hyb_byte_tile *tile, const char *acts, size_t act_bytes,
                             int columns, float *sums)
{
    const int step = HYB_BYTE_CHUNK / g->block;
    const int64_t blocks = tile->k / g->block;
    int64_t b;
    int c, j;
    for (b = 0; b < blocks; b += step)
        for (c = 0; c < columns; c += 4) {
            const char *x[4];
            for (j = 0; j < 4; j++) x[j] = acts + (size_t)HYB_MIN(c + j, columns - 1) * act_bytes;
            g->tile(tile, x, b, (int)HYB_MIN(blocks - b, step), sums + 16 * c);
        }
}

static void hyb_byte_gemm_run(const hyb_byte_gemm *g, const void *w, size_t row_bytes, int64_t k, const void *acts,
                              int n, float *y, int64_t y_stride, int64_t r0, int64_t r1, void *scratch)
{
    const size_t panel_bytes = hyb_byte_panel(g, k), act_bytes = g->act_bytes(k);
    const int panels = hyb_byte_panels(g, k);
    char *packed = (char *)scratch;
    float *sums = (float *)(void *)(packed + panel_bytes * (size_t)panels);
    hyb_byte_tile tile;
    int64_t r;
    int p, i;
    tile.k = k;
    tile.offset = g->offset;
    tile.affine = g->affine;
    if (k / g->block < 8) memset(sums, 0, 8 * HYB_BYTE_SUMS * sizeof *sums); /* those that no block has */
    for (r = r0; r < r1; r += 16 * panels) {
        const int count = (int)HYB_MIN((r1 - r + 15) / 16, panels);
        for (p = 0; p < count; p++)
            hyb_byte_unpack(g, (const char *)w, row_bytes, k, r + 16 * p, r1, packed + (size_t)p * panel_bytes);
        for (i = 0; i < n; i += HYB_BYTE_COLUMNS) {
            const int columns = HYB_MIN(n - i, HYB_BYTE_COLUMNS);
            for (p = 0; p < count; p++) {
                const int64_t at = r + 16 * p;
                const int rows = (int)HYB_MIN(r1 - at, 16);
                tile.panel = packed + (size_t)p * panel_bytes;
                hyb_byte_columns(g, &tile, (const char *)acts + (size_t)i * act_bytes, act_bytes, columns, sums);
                hyb_byte_finish(sums, columns, rows, y + i * y_stride + (at - r0), y_stride);
            }
        }
    }
}

/* ---- the kernels: the tiles and the table of types, stamped ------------------------------------------------------ */

    #define HYB_D_FN(name)          hyb_byte_##name##_avx2
    #define HYB_D_KERNEL(type)      hyb_kernel_avx2_##type
    #define HYB_D_TARGET            HYB_TARGET_AVX2
    #define HYB_D_START(e, offset)  _mm256_mullo_epi16(e, offset)
    #define HYB_D_DOT(acc, w, x)    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, x))
    #define HYB_D_WIDE(acc)         _mm256_madd_epi16(acc, _mm256_set1_epi16(1))
    #define HYB_D_SCALE(acc, scale) _mm256_madd_epi16(acc, scale)
    #define HYB_D_Q8_0_UNPACK       hyb_byte_q8_0
    #define HYB_D_Q8_0_TILE         hyb_byte_tile32_signed_avx2
    #define HYB_D_Q8_0_OFFSET       0
    #include "tile.inc"

    #if defined(HYB_AVXVNNI)
        /* vpdpbusd: the sums are whole dwords from the start. tests/test_matmul.c puts that product in AVX2 in its
         * place. */
        #define HYB_D_FN(name)          hyb_byte_##name##_avxvnni
        #define HYB_D_KERNEL(type)      hyb_kernel_avxvnni_##type
        #define HYB_D_TARGET            HYB_TARGET_AVXVNNI
        #define HYB_D_START(e, offset)  _mm256_madd_epi16(e, offset)
        #define HYB_D_DOT(acc, w, x)    acc = _mm256_dpbusd_avx_epi32(acc, w, x)
        #define HYB_D_WIDE(acc)         (acc)
        #define HYB_D_SCALE(acc, scale) _mm256_mullo_epi32(acc, _mm256_srai_epi32(scale, 16))
        #define HYB_D_Q8_0_UNPACK       hyb_byte_q8_0_plus128
        #define HYB_D_Q8_0_TILE         hyb_byte_tile32_plain_avxvnni
        #define HYB_D_Q8_0_OFFSET       128
        #include "tile.inc"
    #endif

#endif
#endif
