/* compute/cpu/int/avx2: integer blocks with AVX2, FMA and F16C: activations, and decode straight from the file.
 *
 * Unsigned weights times signed activations (vpmaddubsw: pairs fit 16 bits up to 6-bit weights). Prefill:
 * int/avx2_gemm.c. */
#ifndef HYB_COMPUTE_CPU_INT_AVX2_C
#define HYB_COMPUTE_CPU_INT_AVX2_C
#include "../kernels.c"
#include "gemm.c"

#if defined(HYB_X86)

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* 8 floats to int32, clamped; zeros when id is 0. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_quant8_avx2(const float *x, float id)
{
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(id)));
    q = _mm256_and_si256(q, _mm256_set1_epi32(id > 0 ? -1 : 0));
    return _mm256_max_epi32(_mm256_min_epi32(q, _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
}
/* The largest |x| of 8 n floats, divided by 127. */
HYB_INLINE HYB_TARGET_AVX2 float hyb_act_scale_avx2(const float *x, int n)
{
    __m256i a = _mm256_setzero_si256();
    __m128i h;
    int i;
    for (i = 0; i < n; i++)
        a = _mm256_max_epu32(a, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)),
                                                 _mm256_set1_epi32(0x7FFFFFFF)));
    h = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0x4E));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0xB1));
    return hyb_bits_f32((uint32_t)_mm_cvtsi128_si32(h)) / 127.0f;
}
/* 16 floats to 16 int16; adds their sum to *sum. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_quant16_avx2(const float *x, float id, int *sum)
{
    __m256i a = hyb_quant8_avx2(x, id), b = hyb_quant8_avx2(x + 8, id), s = _mm256_add_epi32(a, b);
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4E));
    *sum += _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xB1)));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
}
HYB_INLINE HYB_TARGET_AVX2 __m128i hyb_bytes_avx2(__m256i words)
{
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* Decode, 32-weight blocks, in groups of 8: for e = 0..3: first halves of blocks e, e+4, second halves; then d[8]
 * (float), sums of q [8] (int32), times 8: the offset of 4-bit weights. */
enum { HYB_GROUP8 = 320, HYB_GROUP8_D = 256, HYB_GROUP8_S = 288 };
static size_t hyb_one32_bytes_avx2(int64_t k) { return (size_t)((k + 255) / 256) * HYB_GROUP8; }
HYB_TARGET_AVX2 static void hyb_one32_prepare_avx2(const float *x, int64_t k, void *act)
{
    int64_t b, blocks = k / 32;
    if (blocks % 8) memset((char *)act + hyb_one32_bytes_avx2(k) - HYB_GROUP8, 0, HYB_GROUP8);
    for (b = 0; b < blocks; b++, x += 32) {
        char *group = (char *)act + b / 8 * HYB_GROUP8, *at = group + b % 4 * 64 + b % 8 / 4 * 16;
        float d = hyb_act_scale_avx2(x, 4), id = hyb_act_inverse(d);
        int sum = 0;
        _mm_storeu_si128((__m128i *)(void *)at, hyb_bytes_avx2(hyb_quant16_avx2(x, id, &sum)));
        _mm_storeu_si128((__m128i *)(void *)(at + 32), hyb_bytes_avx2(hyb_quant16_avx2(x + 16, id, &sum)));
        ((float *)(void *)(group + HYB_GROUP8_D))[b % 8] = d;
        ((int32_t *)(void *)(group + HYB_GROUP8_S))[b % 8] = 8 * sum;
    }
}
static const hyb_act_format hyb_one32_avx2 = { hyb_one32_bytes_avx2, hyb_one32_prepare_avx2 };

/* Decode, super-blocks: q (int8), d (floats), sums of 16 q (int16): of a super-block the 8 even ones, then the 8 odd
 * ones; sums of 32 q (int16). */
HYB_INLINE size_t hyb_super_d(int64_t k) { return (size_t)k; }
HYB_INLINE size_t hyb_super_s16(int64_t k) { return hyb_super_d(k) + hyb_align((size_t)k / 64, 64); }
HYB_INLINE size_t hyb_super_s32(int64_t k) { return hyb_super_s16(k) + hyb_align((size_t)k / 8, 64); }
static size_t hyb_super_bytes(int64_t k) { return hyb_super_s32(k) + hyb_align((size_t)k / 16, 64); }
HYB_TARGET_AVX2 static void hyb_one256_prepare_avx2(const float *x, int64_t k, void *act)
{
    char *q = (char *)act;
    float *d = (float *)(void *)(q + hyb_super_d(k));
    int16_t *s16 = (int16_t *)(void *)(q + hyb_super_s16(k)), *s32 = (int16_t *)(void *)(q + hyb_super_s32(k));
    int64_t b;
    for (b = 0; b < k / 32; b++, x += 32, q += 32) {
        int even = 0, odd = 0;
        float id;
        if (b % 8 == 0) d[b / 8] = hyb_act_scale_avx2(x, 32);
        id = hyb_act_inverse(d[b / 8]);
        _mm_storeu_si128((__m128i *)(void *)q, hyb_bytes_avx2(hyb_quant16_avx2(x, id, &even)));
        _mm_storeu_si128((__m128i *)(void *)(q + 16), hyb_bytes_avx2(hyb_quant16_avx2(x + 16, id, &odd)));
        s16[b / 8 * 16 + b % 8] = (int16_t)even;
        s16[b / 8 * 16 + b % 8 + 8] = (int16_t)odd;
        s32[b] = (int16_t)(even + odd);
    }
}
static const hyb_act_format hyb_one256_avx2 = { hyb_super_bytes, hyb_one256_prepare_avx2 };

/* ---- decode, 32-weight blocks ----
 * A step takes 8 consecutive blocks of one row, block e in the low and block e + 4 in the high lane of vector e: sums
 * and scales of 8 blocks come out as one vector. One thread reads one linear stream: several rows at a time would be
 * slower (hardware prefetching). */

HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_load_avx2(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
    /* clang may not know what is in a vector, or where an address comes from: it would make other, slower instructions
     * of what follows. */
    #if defined(__clang__)
        #define HYB_OPAQUE(v)         __asm__("" : "+x"(v))
        #define HYB_OPAQUE_ADDRESS(p) __asm__("" : "+r"(p))
    #else
        #define HYB_OPAQUE(v)         HYB_UNUSED(v)
        #define HYB_OPAQUE_ADDRESS(p) HYB_UNUSED(p)
    #endif

/* 16 bytes of a, then 16 of b. Zen takes one vinserti128 a cycle, but two loads and four blends, which clang would
 * merge into a vinserti128. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_two_avx2(const char *a, const char *b)
{
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)b));
    HYB_OPAQUE(high);
    return _mm256_blend_epi32(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a)), high, 0xF0);
}
/* In each lane: the four dwords of a in two sums (first half), those of b in two sums. _words: the same of eight
 * words, in four sums. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_other_halves_avx2(__m256i a, __m256i b)
{
    return _mm256_castpd_si256(_mm256_shuffle_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b), 5));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_half_dwords_avx2(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_blend_epi32(a, b, 0xCC), hyb_other_halves_avx2(a, b));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_half_words_avx2(__m256i a, __m256i b)
{
    return _mm256_add_epi16(_mm256_blend_epi32(a, b, 0xCC), hyb_other_halves_avx2(a, b));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_even_dwords_avx2(__m256i a, __m256i b)
{
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_odd_dwords_avx2(__m256i a, __m256i b)
{
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xDD));
}
/* Sums of the dwords of 128-bit lanes: lane L, dword e: lane L of v_e. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_sum_lanes_avx2(__m256i v0, __m256i v1, __m256i v2, __m256i v3)
{
    const __m256i a = hyb_half_dwords_avx2(v0, v1), b = hyb_half_dwords_avx2(v2, v3);
    return _mm256_add_epi32(hyb_even_dwords_avx2(a, b), hyb_odd_dwords_avx2(a, b));
}

/* 16 where the bit of a byte's number is set: h holds 16 such bits, at the bytes that `at` names for each byte. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_fifth_avx2(__m256i h, int at)
{
    const __m256i each = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i v =
        _mm256_shuffle_epi8(h, _mm256_add_epi8(_mm256_set1_epi8((char)at),
                                               _mm256_set_epi64x(0x0101010101010101, 0, 0x0101010101010101, 0)));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, each), each), _mm256_set1_epi8(16));
}

/* The first 16 bytes of blocks e and e + 4, moved so that their heads are word e (unit 2) or dword e (unit 4). */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_heads_two_avx2(const char *w, size_t stride, int e, int unit)
{
    return hyb_two_avx2(w + (size_t)e * (stride - (size_t)unit), w + (size_t)(e + 4) * stride - (size_t)(e * unit));
}

/* Nibbles (and fifth bits) of blocks e, e + 4 times x: 8 sums of 4 products a block, of 16 bits. h: heads_two; at:
 * where in them the fifth bits are. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_dot_nibbles_avx2(const char *qs, size_t stride, bool fifth, __m256i h, int at,
                                                        const char *x)
{
    const __m256i low4 = _mm256_set1_epi8(15), v = hyb_two_avx2(qs, qs + 4 * stride);
    __m256i lo = _mm256_and_si256(v, low4), hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), low4);
    if (fifth) {
        lo = _mm256_or_si256(lo, hyb_fifth_avx2(h, at));
        hi = _mm256_or_si256(hi, hyb_fifth_avx2(h, at + 2));
    }
    return _mm256_add_epi16(_mm256_maddubs_epi16(lo, hyb_load_avx2(x)),
                            _mm256_maddubs_epi16(hi, hyb_load_avx2(x + 32)));
}
/* Bytes of blocks e, e + 4 times x: 4 sums of 8 products. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_dot_bytes_avx2(const char *qs, size_t stride, const char *x)
{
    const __m256i one = _mm256_set1_epi16(1), a = hyb_two_avx2(qs, qs + 4 * stride),
                  b = hyb_two_avx2(qs + 16, qs + 4 * stride + 16);
    return _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(hyb_load_avx2(x), a)), one),
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(hyb_load_avx2(x + 32), b)), one));
}

/* t of 8 blocks. qs, qh: where nibbles or bytes, and fifth bits (0: none), are in a block; affine: it has a min. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_dot8_avx2(const char *w, size_t stride, size_t qs, size_t qh, bool bytes,
                                                bool affine, const char *x)
{
    const __m256i one = _mm256_set1_epi16(1), s = _mm256_load_si256((const __m256i *)(const void *)(x + HYB_GROUP8_S));
    const char *head = w;
    const int unit = !affine ? 2 : qh ? 0 : 4; /* a head and what is after it must not leave the 16 bytes */
    __m256i h0, h1, h2, h3, m0, m1, m2, m3, isum;
    __m256 t;
    HYB_OPAQUE_ADDRESS(head);
    if (stride == 18) { /* half i of the block's first 16 bytes begins at 16 i + 2 i: word i of 16 bytes at 16 i */
        h0 = hyb_load_avx2(head);
        h1 = hyb_load_avx2(head + 32);
        h2 = hyb_load_avx2(head + 64);
        h3 = hyb_load_avx2(head + 96);
    } else if (affine && qh) {
        h0 = hyb_two_avx2(head, head + 4 * stride);
        h1 = hyb_two_avx2(head + stride, head + 5 * stride);
        h2 = hyb_two_avx2(head + 2 * stride, head + 6 * stride);
        h3 = hyb_two_avx2(head + 3 * stride, head + 7 * stride);
    } else {
        h0 = hyb_heads_two_avx2(head, stride, 0, unit);
        h1 = hyb_heads_two_avx2(head, stride, 1, unit);
        h2 = hyb_heads_two_avx2(head, stride, 2, unit);
        h3 = hyb_heads_two_avx2(head, stride, 3, unit);
    }
    w += qs;
    if (bytes) {
        isum = hyb_sum_lanes_avx2(hyb_dot_bytes_avx2(w, stride, x), hyb_dot_bytes_avx2(w + stride, stride, x + 64),
                                  hyb_dot_bytes_avx2(w + 2 * stride, stride, x + 128),
                                  hyb_dot_bytes_avx2(w + 3 * stride, stride, x + 192));
    } else {
        m0 = hyb_dot_nibbles_avx2(w, stride, qh > 0, h0, (int)qh, x);
        m1 = hyb_dot_nibbles_avx2(w + stride, stride, qh > 0, h1, (int)qh + unit, x + 64);
        m2 = hyb_dot_nibbles_avx2(w + 2 * stride, stride, qh > 0, h2, (int)qh + 2 * unit, x + 128);
        m3 = hyb_dot_nibbles_avx2(w + 3 * stride, stride, qh > 0, h3, (int)qh + 3 * unit, x + 192);
        m0 = hyb_half_words_avx2(m0, m1); /* sums of 8 products: up to 8 * 31 * 127 */
        m2 = hyb_half_words_avx2(m2, m3);
        if (qh) {
            m0 = _mm256_madd_epi16(m0, one);
            m2 = _mm256_madd_epi16(m2, one);
            isum = _mm256_add_epi32(hyb_even_dwords_avx2(m0, m2), hyb_odd_dwords_avx2(m0, m2));
        } else
            isum = _mm256_madd_epi16(_mm256_add_epi16(hyb_even_dwords_avx2(m0, m2), hyb_odd_dwords_avx2(m0, m2)), one);
    }
    if (!bytes && !affine) isum = _mm256_sub_epi32(isum, qh ? _mm256_add_epi32(s, s) : s);
    t = _mm256_cvtepi32_ps(isum);
    if (affine) {
        const __m256i h =
            qh ? _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(h0, h1), _mm256_unpacklo_epi32(h2, h3))
               : _mm256_blend_epi32(_mm256_blend_epi32(h0, h1, 0x22), _mm256_blend_epi32(h2, h3, 0x88), 0xCC);
        const __m256i dm = _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(h, _mm256_set1_epi32(0xFFFF)),
                                                                        _mm256_srli_epi32(h, 16)),
                                                    0xD8);
        t = _mm256_mul_ps(t, _mm256_cvtph_ps(_mm256_castsi256_si128(dm)));
        return _mm256_fmadd_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(dm, 1)),
                               _mm256_mul_ps(_mm256_cvtepi32_ps(s), _mm256_set1_ps(0.125f)), t);
    } else {
        __m256i h;
        __m128i d;
        if (stride == 18) {
            h = _mm256_blend_epi32(_mm256_blend_epi32(h0, h1, 0x22), _mm256_blend_epi32(h2, h3, 0x88), 0xCC);
            d = _mm_blend_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1), 0xAA);
        } else {
            h = _mm256_blend_epi32(_mm256_blend_epi16(h0, h1, 0x22), _mm256_blend_epi16(h2, h3, 0x88), 0x22);
            d = _mm_unpacklo_epi64(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
        }
        return _mm256_mul_ps(t, _mm256_cvtph_ps(d));
    }
}

/* As in int/avx512.c: the next `bytes` of weights are worked on, and what comes some KB after them is fetched.
 * (Zen 3, one thread of a busy core that reads 19 GB/s plainly, GB/s without and with: Q4_0 12.5 -> 16.5, Q8_0 14 ->
 * 19, Q4_K 11 -> 14.5, Q6_K 12.5 -> 16.5. 1 KB gives less.) */
enum { HYB_AHEAD_AVX2 = 3072 };
HYB_INLINE HYB_TARGET_AVX2 void hyb_ahead_avx2(const char *p, size_t bytes)
{
    size_t i;
    for (i = 0; i < bytes; i += 64) _mm_prefetch(p + HYB_AHEAD_AVX2 + i, _MM_HINT_T0);
}

/* p = fma(t, d, p) in the first count lanes. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_add_lanes_avx2(__m256 t, const float *d, __m256 p, int64_t count)
{
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_blendv_ps(p, _mm256_fmadd_ps(t, _mm256_loadu_ps(d), p), _mm256_castsi256_ps(mask));
}
HYB_INLINE HYB_TARGET_AVX2 float hyb_halve_avx2(__m256 p)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

    /* A row's last group, where it has fewer than 8 blocks, reads on into the next rows; at the end of the rows it
     * comes from a copy. */
    #define HYB_GEMV32_AVX2(type, qs, qh, bytes, affine) \
        HYB_TARGET_AVX2 static void hyb_gemv_avx2_##type(const void *w, size_t row_bytes, int64_t k, const void *act, \
                                                         float *y, int64_t r0, int64_t r1) \
        { \
            const size_t stride = sizeof(hyb_block_##type); \
            const char *at = (const char *)w + (size_t)r0 * row_bytes, \
                       *end = (const char *)w + (size_t)r1 * row_bytes; \
            const int64_t left = k / 32 % 8; \
            const char *x_end = (const char *)act + k / 256 * HYB_GROUP8, *x; \
            char copy[8 * sizeof(hyb_block_##type)]; \
            memset(copy, 0, sizeof copy); \
            for (; r0 < r1; r0++) { \
                __m256 p = _mm256_setzero_ps(), t; \
                for (x = (const char *)act; x < x_end; x += HYB_GROUP8, at += 8 * stride) { \
                    hyb_ahead_avx2(at, 8 * sizeof(hyb_block_##type)); \
                    t = hyb_dot8_avx2(at, stride, qs, qh, bytes, affine, x); \
                    p = _mm256_fmadd_ps(t, _mm256_load_ps((const float *)(const void *)(x + HYB_GROUP8_D)), p); \
                } \
                if (left) { \
                    const char *from = at; \
                    hyb_ahead_avx2(at, (size_t)left * stride); \
                    if ((size_t)(end - at) < 8 * stride) from = (const char *)memcpy(copy, at, (size_t)left * stride); \
                    t = hyb_dot8_avx2(from, stride, qs, qh, bytes, affine, x); \
                    p = hyb_add_lanes_avx2(t, (const float *)(const void *)(x + HYB_GROUP8_D), p, left); \
                    at += (size_t)left * stride; \
                } \
                *y++ = hyb_halve_avx2(p); \
            } \
        }
HYB_GEMV32_AVX2(q4_0, 2, 0, false, false)
HYB_GEMV32_AVX2(q4_1, 4, 0, false, true)
HYB_GEMV32_AVX2(q5_0, 6, 2, false, false)
HYB_GEMV32_AVX2(q5_1, 8, 4, false, true)
HYB_GEMV32_AVX2(q8_0, 2, 0, true, false)
    #undef HYB_GEMV32_AVX2

/* ---- super-blocks: weights 32g..32g+31 as unsigned bytes, 16 scales, 16 mins ------------------------------------- */

/* v >> by (left when negative), the bits of mask in every byte */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_field_avx2(__m256i v, int by, int mask)
{
    if (by > 0) v = _mm256_srl_epi16(v, _mm_cvtsi32_si128(by));
    if (by < 0) v = _mm256_sll_epi16(v, _mm_cvtsi32_si128(-by));
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_group_avx2_q2_K(const void *block, int g)
{
    return hyb_field_avx2(hyb_load_avx2(((const hyb_block_q2_K *)block)->qs + g / 4 * 32), g % 4 * 2, 3);
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_group_avx2_q3_K(const void *block, int g)
{
    const hyb_block_q3_K *b = (const hyb_block_q3_K *)block;
    return _mm256_or_si256(hyb_field_avx2(hyb_load_avx2(b->qs + g / 4 * 32), g % 4 * 2, 3),
                           hyb_field_avx2(hyb_load_avx2(b->hmask), g - 2, 4));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_group_avx2_q4_K(const void *block, int g)
{
    return hyb_field_avx2(hyb_load_avx2(((const hyb_block_q4_K *)block)->qs + g / 2 * 32), g % 2 * 4, 15);
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_group_avx2_q5_K(const void *block, int g)
{
    const hyb_block_q5_K *b = (const hyb_block_q5_K *)block;
    return _mm256_or_si256(hyb_field_avx2(hyb_load_avx2(b->qs + g / 2 * 32), g % 2 * 4, 15),
                           hyb_field_avx2(hyb_load_avx2(b->qh), g - 4, 16));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_group_avx2_q6_K(const void *block, int g)
{
    const hyb_block_q6_K *b = (const hyb_block_q6_K *)block;
    return _mm256_or_si256(hyb_field_avx2(hyb_load_avx2(b->ql + g / 4 * 64 + g % 2 * 32), g % 4 / 2 * 4, 15),
                           hyb_field_avx2(hyb_load_avx2(b->qh + g / 4 * 32), g % 4 * 2 - 4, 0x30));
}

/* 16 where the bit of a byte's number is set: two bytes of bits for each lane. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_bits_avx2(const char *a, const char *b)
{
    const __m256i each = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    __m256i v =
        _mm256_shuffle_epi8(_mm256_set_m128i(_mm_cvtsi32_si128(hyb_load_u16(b)), _mm_cvtsi32_si128(hyb_load_u16(a))),
                            _mm256_set_epi64x(0x0101010101010101, 0, 0x0101010101010101, 0));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, each), each), _mm256_set1_epi8(16));
}
/* Scales (signed) and mins of 16 sub-blocks of 16; returns d | dmin << 16. */
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_q2_K(const void *block, __m128i *sc, __m128i *m)
{
    const hyb_block_q2_K *b = (const hyb_block_q2_K *)block;
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    *sc = _mm_and_si128(v, _mm_set1_epi8(15));
    *m = _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
    return hyb_load_u32(&b->d);
}
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_q3_K(const void *block, __m128i *sc, __m128i *m)
{
    const hyb_block_q3_K *b = (const hyb_block_q3_K *)block;
    uint64_t low, high;
    hyb_scales_q3_words(b->scales, &low, &high);
    *m = *sc = _mm_sub_epi8(_mm_set_epi64x((int64_t)high, (int64_t)low), _mm_set1_epi8(32));
    return hyb_load_u16(&b->d);
}
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_k45(const uint8_t *head, __m128i *sc, __m128i *m)
{
    uint64_t s8, m8;
    hyb_scales_k4_words(head + 4, &s8, &m8);
    *sc = _mm_cvtsi64_si128((int64_t)s8);
    *m = _mm_cvtsi64_si128((int64_t)m8);
    *sc = _mm_unpacklo_epi8(*sc, *sc);
    *m = _mm_unpacklo_epi8(*m, *m);
    return hyb_load_u32(head);
}
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_q4_K(const void *block, __m128i *sc, __m128i *m)
{
    return hyb_scales_avx2_k45((const uint8_t *)block, sc, m);
}
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_q5_K(const void *block, __m128i *sc, __m128i *m)
{
    return hyb_scales_avx2_k45((const uint8_t *)block, sc, m);
}
HYB_INLINE HYB_TARGET_AVX2 uint32_t hyb_scales_avx2_q6_K(const void *block, __m128i *sc, __m128i *m)
{
    const hyb_block_q6_K *b = (const hyb_block_q6_K *)block;
    *m = *sc = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    return hyb_load_u16(&b->d);
}
/* Scale of weights 32g..32g+15 in the words of the low, 32g+16.. of the high lane. sc: the 16 scales, in both lanes. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_scale_words_avx2(__m256i sc, int g)
{
    const __m256i first =
        _mm256_set_epi64x(0x0180018001800180, 0x0180018001800180, 0x0080008000800080, 0x0080008000800080);
    return _mm256_srai_epi16(_mm256_shuffle_epi8(sc, _mm256_add_epi8(first, _mm256_set1_epi16((short)(g * 0x200)))), 8);
}

/* Low halves of 8 dwords as floats. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_halfs_avx2(__m256i v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0x08)));
}
/* ---- decode, super-blocks ---------------------------------------------------------------------------------------- */

/* Vectors 0..7 of 8 partial sums each: the 8 sums. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_sum_sets_avx2(const __m256i *v)
{
    __m256i a = hyb_sum_lanes_avx2(v[0], v[1], v[2], v[3]), b = hyb_sum_lanes_avx2(v[4], v[5], v[6], v[7]);
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* The first 16 bytes of Q4_K and Q5_K in each lane to bytes: sc0-3 m0-3 sc4-7 m4-7. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_scales_k45_avx2(__m256i h)
{
    const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi32(0x3F3F3F3F, 0x3F3F3F3F, 0x0F0F0F0F, 0x0F0F0F0F));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0, 0x30303030, 0x30303030));
    const __m256i by = _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4);
    return _mm256_or_si256(_mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi32(h, 0xF9), by), low),
                           _mm256_and_si256(_mm256_srli_epi16(_mm256_shuffle_epi32(h, 0x94), 2), high));
}
/* Of those: the mins as words. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_mins_k45_avx2(__m256i e)
{
    const __m128i at = _mm_setr_epi8(4, -1, 5, -1, 6, -1, 7, -1, 12, -1, 13, -1, 14, -1, 15, -1);
    return _mm256_shuffle_epi8(e, _mm256_broadcastsi128_si256(at));
}
/* Scale s of those in all words, of the lane alone. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_scale_k45_avx2(__m256i e, int s)
{
    return _mm256_shuffle_epi8(e, _mm256_set1_epi16((short)(0x8000 | (s + s / 4 * 4))));
}

/* Scales of 8 super-blocks at w: of j and j + 4 at scales + 16 j: sub-blocks 0-3 of both, then 4-7 of both, each twice
 * in 16 bits. Returns the sums of min times activations; heads: d | dmin << 16 of each. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_scales8_avx2(const char *w, size_t stride, const char *s32, int32_t *scales,
                                                    __m256i *heads)
{
    const __m128i twice0 = _mm_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1);
    const __m128i twice4 = _mm_setr_epi8(8, -1, 8, -1, 9, -1, 9, -1, 10, -1, 10, -1, 11, -1, 11, -1);
    __m256i h[4], m[4];
    int j;
    HYB_UNROLL
    for (j = 0; j < 4; j++, w += stride, s32 += 16, scales += 16) {
        __m256i e = hyb_scales_k45_avx2(h[j] = hyb_two_avx2(w, w + 4 * stride));
        _mm256_store_si256((__m256i *)(void *)scales, _mm256_shuffle_epi8(e, _mm256_broadcastsi128_si256(twice0)));
        _mm256_store_si256((__m256i *)(void *)(scales + 8),
                           _mm256_shuffle_epi8(e, _mm256_broadcastsi128_si256(twice4)));
        m[j] = _mm256_madd_epi16(hyb_mins_k45_avx2(e), hyb_two_avx2(s32, s32 + 64));
    }
    *heads = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(h[0], h[1]), _mm256_unpacklo_epi32(h[2], h[3]));
    return hyb_sum_lanes_avx2(m[0], m[1], m[2], m[3]);
}
/* Scale s of super-block j of those, in all words. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_scale8_avx2(const int32_t *scales, int j, int s)
{
    return _mm256_set1_epi32(scales[j % 4 * 16 + j / 4 * 4 + s / 4 * 8 + s % 4]);
}

/* The 16 bytes at p, zero-extended: the even ones in the low lane, the odd ones in the high lane. high: in the high
 * bytes of the words. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_even_odd_avx2(__m128i v, bool high)
{
    const __m256i at = _mm256_setr_epi8(0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10, -1, 12, -1, 14, -1, 1, -1, 3, -1, 5, -1,
                                        7, -1, 9, -1, 11, -1, 13, -1, 15, -1);
    const __m256i at_high = _mm256_setr_epi8(-1, 0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10, -1, 12, -1, 14, -1, 1, -1, 3,
                                             -1, 5, -1, 7, -1, 9, -1, 11, -1, 13, -1, 15);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(v), high ? at_high : at);
}
/* Word g of each lane in all words of the lane. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_word_avx2(__m256i v, int g)
{
    return _mm256_shuffle_epi8(v, _mm256_set1_epi16((short)(g * 0x202 + 0x100)));
}

    /* One super-block: 8 partial sums of scale * q * x, of unsigned q, and of what the mins (Q2_K) or the offset of q
     * (Q3_K, Q6_K) take away. */
    #define HYB_DOT32_AVX2(type, g, scale) \
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(hyb_group_avx2_##type(w, g), \
                                                                           hyb_load_avx2(x + 32 * (g))), \
                                                      scale));
    /* clang-format off */
#define HYB_SUPER_AVX2(type, scale) \
    HYB_DOT32_AVX2(type, 0, scale(0)) HYB_DOT32_AVX2(type, 1, scale(1)) \
    HYB_DOT32_AVX2(type, 2, scale(2)) HYB_DOT32_AVX2(type, 3, scale(3)) \
    HYB_DOT32_AVX2(type, 4, scale(4)) HYB_DOT32_AVX2(type, 5, scale(5)) \
    HYB_DOT32_AVX2(type, 6, scale(6)) HYB_DOT32_AVX2(type, 7, scale(7))
    /* clang-format on */
    #define HYB_WORD_SCALE(g) hyb_word_avx2(sc, g)
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_super_avx2_q2_K(const char *w, const char *x, __m256i s16, __m256i *less)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)w), low4 = _mm_set1_epi8(15);
    const __m256i sc = hyb_even_odd_avx2(_mm_and_si128(v, low4), false);
    __m256i sum = _mm256_setzero_si256();
    *less = _mm256_madd_epi16(hyb_even_odd_avx2(_mm_and_si128(_mm_srli_epi16(v, 4), low4), false), s16);
    HYB_SUPER_AVX2(q2_K, HYB_WORD_SCALE)
    return sum;
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_super_avx2_q3_K(const char *w, const char *x, __m256i s16, __m256i *less)
{
    /* the 12 bytes of scales end at 108: they are bytes 2 .. 13 of v */
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(w + 94));
    const __m128i nibbles = _mm_shuffle_epi8(v, _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9));
    const __m128i bits =
        _mm_shuffle_epi8(v, _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13));
    const __m128i low = _mm_and_si128(_mm_srlv_epi64(nibbles, _mm_setr_epi32(0, 0, 4, 0)), _mm_set1_epi8(15));
    const __m128i high =
        _mm_and_si128(_mm_slli_epi16(_mm_srlv_epi32(bits, _mm_setr_epi32(0, 2, 4, 6)), 4), _mm_set1_epi8(0x30));
    const __m256i sc =
        _mm256_srai_epi16(hyb_even_odd_avx2(_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)), true), 8);
    __m256i sum = _mm256_setzero_si256();
    *less = _mm256_slli_epi32(_mm256_madd_epi16(sc, s16), 2);
    HYB_SUPER_AVX2(q3_K, HYB_WORD_SCALE)
    return sum;
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_super_avx2_q6_K(const char *w, const char *x, __m256i s16, __m256i *less)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)((const hyb_block_q6_K *)(const void *)w)->scales);
    const __m256i sc = _mm256_srai_epi16(hyb_even_odd_avx2(v, true), 8);
    __m256i sum = _mm256_setzero_si256();
    *less = _mm256_slli_epi32(_mm256_madd_epi16(sc, s16), 5);
    HYB_SUPER_AVX2(q6_K, HYB_WORD_SCALE)
    return sum;
}
    #undef HYB_WORD_SCALE
    #define HYB_BUFFER_SCALE(s) hyb_scale8_avx2(scales, j, s)
    #define HYB_SUPER_TYPE(type) \
        HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_super_avx2_##type(const char *w, const char *x, const int32_t *scales, \
                                                                 int j) \
        { \
            __m256i sum = _mm256_setzero_si256(); \
            HYB_SUPER_AVX2(type, HYB_BUFFER_SCALE) \
            return sum; \
        }
HYB_SUPER_TYPE(q4_K)
HYB_SUPER_TYPE(q5_K)
    #undef HYB_SUPER_TYPE
    #undef HYB_BUFFER_SCALE
    /* The same of one super-block alone: where there are fewer than 8, storing and loading scales would be waited for.
     */
    #define HYB_OWN_SCALE(s) hyb_scale_k45_avx2(e, s)
    #define HYB_SUPER_TYPE(type) \
        HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_super1_avx2_##type(const char *w, const char *x, const char *s32, \
                                                                  __m256i *less) \
        { \
            const __m256i e = \
                hyb_scales_k45_avx2(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)w))); \
            const __m256i s = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)s32)); \
            __m256i sum = _mm256_setzero_si256(); \
            *less = _mm256_madd_epi16(hyb_mins_k45_avx2(e), _mm256_blend_epi32(sum, s, 0x0F)); \
            HYB_SUPER_AVX2(type, HYB_OWN_SCALE) \
            return sum; \
        }
HYB_SUPER_TYPE(q4_K)
HYB_SUPER_TYPE(q5_K)
    #undef HYB_SUPER_TYPE
    #undef HYB_OWN_SCALE
    #undef HYB_SUPER_AVX2
    #undef HYB_DOT32_AVX2

    /* t of count super-blocks; lanes above are anything. */
    #define HYB_DOT256_AVX2(type, head, affine) \
        HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_dot256_avx2_##type(const char *w, int count, const char *x, \
                                                                 const char *s16, const char *s32) \
        { \
            __m256i sum[8], less[8], heads; \
            HYB_ALIGN64 uint32_t h[8] = { 0 }; \
            __m256 t; \
            int j; \
            HYB_UNUSED(s32); \
            for (j = count; j < 8; j++) sum[j] = less[j] = _mm256_setzero_si256(); \
            for (j = 0; j < count; j++, w += sizeof(hyb_block_##type)) { \
                sum[j] = hyb_super_avx2_##type(w, x + 256 * j, hyb_load_avx2(s16 + 32 * j), &less[j]); \
                if (!affine) sum[j] = _mm256_sub_epi32(sum[j], less[j]); \
                h[j] = affine ? hyb_load_u32(w + head) : hyb_load_u16(w + head); \
            } \
            heads = _mm256_load_si256((const __m256i *)(const void *)h); \
            t = _mm256_mul_ps(_mm256_cvtepi32_ps(hyb_sum_sets_avx2(sum)), hyb_halfs_avx2(heads)); \
            if (affine) \
                t = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(hyb_sum_sets_avx2(less)), \
                                     hyb_halfs_avx2(_mm256_srli_epi32(heads, 16)), t); \
            return t; \
        }
HYB_DOT256_AVX2(q2_K, 80, true)
HYB_DOT256_AVX2(q3_K, 108, false)
HYB_DOT256_AVX2(q6_K, 208, false)
    #undef HYB_DOT256_AVX2
    #define HYB_DOT256_AVX2(type) \
        HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_dot256_avx2_##type(const char *w, int count, const char *x, \
                                                                 const char *s16, const char *s32) \
        { \
            HYB_ALIGN64 int32_t scales[64]; \
            HYB_ALIGN64 uint32_t h[8] = { 0 }; \
            __m256i sum[8], less[8], heads, less8; \
            __m256 t; \
            int j; \
            HYB_UNUSED(s16); \
            if (count == 8) { \
                less8 = hyb_scales8_avx2(w, sizeof(hyb_block_##type), s32, scales, &heads); \
                for (j = 0; j < 8; j++, w += sizeof(hyb_block_##type)) \
                    sum[j] = hyb_super_avx2_##type(w, x + 256 * j, scales, j); \
            } else { \
                for (j = count; j < 8; j++) sum[j] = less[j] = _mm256_setzero_si256(); \
                for (j = 0; j < count; j++, w += sizeof(hyb_block_##type)) { \
                    sum[j] = hyb_super1_avx2_##type(w, x + 256 * j, s32 + 16 * j, &less[j]); \
                    h[j] = hyb_load_u32(w); \
                } \
                heads = _mm256_load_si256((const __m256i *)(const void *)h); \
                less8 = hyb_sum_sets_avx2(less); \
            } \
            t = _mm256_mul_ps(_mm256_cvtepi32_ps(hyb_sum_sets_avx2(sum)), hyb_halfs_avx2(heads)); \
            return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(less8), hyb_halfs_avx2(_mm256_srli_epi32(heads, 16)), t); \
        }
HYB_DOT256_AVX2(q4_K)
HYB_DOT256_AVX2(q5_K)
    #undef HYB_DOT256_AVX2

/* Rows of fewer than 8 super-blocks (experts of 768 columns): 8 rows are `blocks` full steps of 8 super-blocks, with
 * x once for each row. */
typedef struct hyb_few256 {
    HYB_ALIGN64 char q[7 * 8 * 256];
    HYB_ALIGN64 char s16[7 * 8 * 32];
    HYB_ALIGN64 char s32[7 * 8 * 16];
    HYB_ALIGN64 float d[7 * 8];
} hyb_few256;
enum { HYB_FEW256_ROWS = 16 }; /* for fewer, the copies of x do not pay */

static void hyb_few256_repeat(hyb_few256 *few, const char *act, int64_t k)
{
    const size_t blocks = (size_t)k / 256;
    size_t i;
    for (i = 0; i < 8; i++) {
        memcpy(few->q + i * blocks * 256, act, blocks * 256);
        memcpy(few->s16 + i * blocks * 32, act + hyb_super_s16(k), blocks * 32);
        memcpy(few->s32 + i * blocks * 16, act + hyb_super_s32(k), blocks * 16);
        memcpy(few->d + i * blocks, act + hyb_super_d(k), blocks * sizeof(float));
    }
}
/* The sum of the first `blocks` of 8 lanes at p. */
HYB_INLINE HYB_TARGET_AVX2 float hyb_halve_few_avx2(const float *p, int64_t blocks)
{
    const __m256i lanes = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)blocks), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return hyb_halve_avx2(_mm256_and_ps(_mm256_loadu_ps(p), _mm256_castsi256_ps(lanes)));
}

/* Where a row's activations are, and how rows are cut into steps of 8 super-blocks. */
typedef struct hyb_steps256 {
    const char *x, *s16, *s32;
    const float *d;
    int64_t blocks, full; /* super-blocks of a row, and those of a pass of `rows` rows that are in full steps */
    int rows;             /* of a pass: 1, or 8 where a step may hold the ends of several */
} hyb_steps256;

typedef void (*hyb_steps_fn)(const char *at, const hyb_steps256 *s, float *y, int64_t rows);

/* Eight rows of fewer than 8 super-blocks at a time; returns how many rows that were. */
static HYB_NOINLINE int64_t hyb_gemv_few_avx2(const char *at, int64_t k, const char *act, float *y, int64_t rows,
                                              hyb_steps_fn steps)
{
    hyb_few256 few;
    hyb_steps256 s;
    hyb_few256_repeat(&few, act, k);
    s.x = few.q;
    s.s16 = few.s16;
    s.s32 = few.s32;
    s.d = few.d;
    s.blocks = k / 256;
    s.full = 8 * s.blocks;
    s.rows = 8;
    steps(at, &s, y, rows / 8 * 8);
    return rows / 8 * 8;
}
static void hyb_gemv256_avx2(const char *at, size_t row_bytes, int64_t k, const char *act, float *y, int64_t rows,
                             hyb_steps_fn steps)
{
    hyb_steps256 s;
    int64_t done = 0;
    s.x = act;
    s.s16 = act + hyb_super_s16(k);
    s.s32 = act + hyb_super_s32(k);
    s.d = (const float *)(const void *)(act + hyb_super_d(k));
    s.blocks = k / 256;
    s.full = s.blocks / 8 * 8;
    s.rows = 1;
    if (!s.full && rows / 8 * 8 >= HYB_FEW256_ROWS) done = hyb_gemv_few_avx2(at, k, act, y, rows, steps);
    steps(at + (size_t)done * row_bytes, &s, y + done, rows - done);
}

    /* The last super-blocks of a row, fewer than 8: a function, so that the text of a step is compiled once for full
     * steps and once here, whatever uses it. */
    #define HYB_GEMV256_AVX2(type) \
        HYB_TARGET_AVX2 static HYB_NOINLINE __m256 hyb_left_avx2_##type(const char *at, const hyb_steps256 *s, \
                                                                        __m256 p) \
        { \
            const int64_t b = s->full; \
            const int left = (int)(s->blocks - b); \
            hyb_ahead_avx2(at, (size_t)left * sizeof(hyb_block_##type)); \
            return hyb_add_lanes_avx2(hyb_dot256_avx2_##type(at, left, s->x + b * 256, s->s16 + b * 32, \
                                                             s->s32 + b * 16), \
                                      s->d + b, p, left); \
        } \
        HYB_TARGET_AVX2 static HYB_NOINLINE void hyb_steps_avx2_##type(const char *at, const hyb_steps256 *s, \
                                                                       float *y, int64_t rows) \
        { \
            const int64_t full = s->full, left = s->rows == 1 ? s->blocks - full : 0; \
            const __m256 keep = _mm256_castsi256_ps(_mm256_set1_epi32(s->rows == 1 ? -1 : 0)); \
            HYB_ALIGN64 float few[8 * 8]; /* row r's sums at r * blocks */ \
            int64_t b, r; \
            for (; rows > 0; rows -= s->rows) { \
                __m256 p = _mm256_setzero_ps(); \
                for (b = 0; b < full; b += 8, at += 8 * sizeof(hyb_block_##type)) { \
                    hyb_ahead_avx2(at, 8 * sizeof(hyb_block_##type)); \
                    p = _mm256_fmadd_ps(hyb_dot256_avx2_##type(at, 8, s->x + b * 256, s->s16 + b * 32, \
                                                               s->s32 + b * 16), \
                                        _mm256_loadu_ps(s->d + b), _mm256_and_ps(p, keep)); \
                    if (s->rows != 1) _mm256_store_ps(few + b, p); \
                } \
                if (left) { \
                    p = hyb_left_avx2_##type(at, s, p); \
                    at += (size_t)left * sizeof(hyb_block_##type); \
                } \
                if (s->rows == 1) \
                    *y++ = hyb_halve_avx2(p); \
                else \
                    for (r = 0; r < 8; r++) *y++ = hyb_halve_few_avx2(few + r * s->blocks, s->blocks); \
            } \
        } \
        HYB_TARGET_AVX2 static void hyb_gemv_avx2_##type(const void *w, size_t row_bytes, int64_t k, const void *act, \
                                                         float *y, int64_t r0, int64_t r1) \
        { \
            hyb_gemv256_avx2((const char *)w + (size_t)r0 * row_bytes, row_bytes, k, (const char *)act, y, r1 - r0, \
                             hyb_steps_avx2_##type); \
        }
HYB_GEMV256_AVX2(q2_K)
HYB_GEMV256_AVX2(q3_K)
HYB_GEMV256_AVX2(q4_K)
HYB_GEMV256_AVX2(q5_K)
HYB_GEMV256_AVX2(q6_K)
    #undef HYB_GEMV256_AVX2

#endif
#endif
