/* compute/cpu/int/avx512: decode (one row of activations, or few) with AVX-512 and VNNI, straight from the blocks of
 * the file.
 *
 * vpdpbusd multiplies unsigned weights by signed activations, four products to an int32 lane. What the file stores is
 * unsigned or made so; the offset is taken back through the sum of the block's activations. Lanes of 16 blocks (8
 * super-blocks) are summed together by one tree of shuffles, so that scales are applied to 16 (8) blocks at once;
 * lane b % 8 of the float sums is p[b % 8] of NUMERICS.md. */
#ifndef HYB_COMPUTE_CPU_INT_AVX512_C
#define HYB_COMPUTE_CPU_INT_AVX512_C
#include "../../../core/cpu.c"
#include "../../../quant/blocks.c"
#include "../kernels.c"
#include "../target.c"
#include "act.c"
#include "unpack.c"

#if defined(HYB_AVX512)

/* One row for 32-weight blocks, in groups of 16 blocks: for e = 0..3: first halves of blocks e, e+4, e+8, e+12, then
 * their second halves; then d[16] (float) and the sums of q [16] (int32). Missing blocks of the last group are zeros.
 * Where the last group is half empty it follows once more with its first 8 blocks in both halves: the ends of two
 * rows are then done as one group. */
enum { HYB_GROUP16 = 640, HYB_GROUP16_D = 512, HYB_GROUP16_S = 576 };
static bool hyb_one32_paired(int64_t k) { return k / 32 % 16 > 0 && k / 32 % 16 <= 8; }
static size_t hyb_one32_bytes_avx512(int64_t k)
{
    return (size_t)((k + 511) / 512 + hyb_one32_paired(k)) * HYB_GROUP16;
}

/* 16 floats to int8, all of one block, whose 1 / d is id (0: all zeros). */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_quant16_avx512(__m512 x, float id)
{
    __m512i q = _mm512_maskz_cvtps_epi32((__mmask16)(id > 0 ? 0xFFFF : 0), _mm512_mul_ps(x, _mm512_set1_ps(id)));
    return _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
}
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_abs_bits_avx512(__m512 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}

/* 32 floats to two vectors of 16 int32; returns d. */
HYB_INLINE HYB_TARGET_AVX512 float hyb_quant32_avx512(const float *x, __m512i *q0, __m512i *q1)
{
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    float d =
        hyb_bits_f32(_mm512_reduce_max_epu32(_mm512_max_epu32(hyb_abs_bits_avx512(x0), hyb_abs_bits_avx512(x1)))) /
        127.0f;
    float id = hyb_act_inverse(d);
    *q0 = hyb_quant16_avx512(x0, id);
    *q1 = hyb_quant16_avx512(x1, id);
    return d;
}

HYB_TARGET_AVX512 static void hyb_one32_prepare_avx512(const float *x, int64_t k, void *act)
{
    int64_t b, blocks = k / 32;
    char *last = (char *)act + (size_t)((k + 511) / 512 - 1) * HYB_GROUP16;
    int i;
    if (blocks % 16) memset(last, 0, HYB_GROUP16);
    for (b = 0; b < blocks; b++) {
        char *group = (char *)act + b / 16 * HYB_GROUP16, *at = group + b % 4 * 128 + b % 16 / 4 * 16;
        __m512i q0, q1;
        float d = hyb_quant32_avx512(x + b * 32, &q0, &q1);
        _mm_storeu_si128((__m128i *)(void *)at, _mm512_cvtepi32_epi8(q0));
        _mm_storeu_si128((__m128i *)(void *)(at + 64), _mm512_cvtepi32_epi8(q1));
        ((float *)(void *)(group + HYB_GROUP16_D))[b % 16] = d;
        ((int32_t *)(void *)(group + HYB_GROUP16_S))[b % 16] = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
    }
    for (i = 0; hyb_one32_paired(k) && i < HYB_GROUP16 / 64; i++) { /* the low 256 bits of every vector, twice */
        __m256i half = _mm256_load_si256((const __m256i *)(const void *)(last + i * 64));
        _mm512_store_si512(last + HYB_GROUP16 + i * 64, _mm512_broadcast_i64x4(half));
    }
}
static const hyb_act_format hyb_one32_avx512 = { hyb_one32_bytes_avx512, hyb_one32_prepare_avx512 };

/* 16 bytes from each of blocks 0, 4, 8, 12. Block 8 is `jump` bytes after block 0: 8 strides, or a row. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_four_avx512(const char *p, size_t stride, size_t jump)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + jump)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + jump + 4 * stride)), 3);
}
/* The same of two bytes each, as a mask of 64 bits. */
HYB_INLINE uint64_t hyb_four_bits(const char *p, size_t stride, size_t jump)
{
    return (uint64_t)hyb_load_u16(p) | (uint64_t)hyb_load_u16(p + 4 * stride) << 16 |
           (uint64_t)hyb_load_u16(p + jump) << 32 | (uint64_t)hyb_load_u16(p + jump + 4 * stride) << 48;
}
/* The first 4 bytes of 16 blocks. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_heads_avx512(const char *p, size_t s, size_t jump)
{
    #define HYB_HEAD4(i) \
        _mm_set_epi32((int)hyb_load_u32(p + (i + 3) * s), (int)hyb_load_u32(p + (i + 2) * s), \
                      (int)hyb_load_u32(p + (i + 1) * s), (int)hyb_load_u32(p + i * s))
    __m512i v = _mm512_castsi128_si512(HYB_HEAD4(0));
    v = _mm512_inserti32x4(v, HYB_HEAD4(4), 1);
    p += jump;
    v = _mm512_inserti32x4(v, HYB_HEAD4(0), 2);
    return _mm512_inserti32x4(v, HYB_HEAD4(4), 3);
    #undef HYB_HEAD4
}

/* The sums of 4 dwords in every 128-bit lane of 4 vectors: lane L, dword e: lane L of v_e. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_sum_lanes_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3)
{
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v0, v1), _mm512_unpackhi_epi32(v0, v1));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v2, v3), _mm512_unpackhi_epi32(v2, v3));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* 16 blocks of weights, as rows of activations meet them: of blocks e, e+4, e+8, e+12 the first halves (lo[e]) and the
 * second (hi[e]), as unsigned bytes; d, and min where there is one. */
typedef struct hyb_blocks16 {
    __m512i lo[4], hi[4];
    __m512 d, min;
} hyb_blocks16;

/* qs: where the numbers start, qh: the fifth bits (0: none); affine: the block has a min. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_blocks16_avx512(const char *w, size_t stride, size_t jump, size_t qs, size_t qh,
                                                      bool bytes, bool affine, hyb_blocks16 *to)
{
    const __m512i low4 = _mm512_set1_epi8(15), bit4 = _mm512_set1_epi8(16), top = _mm512_set1_epi8(-128);
    const __m512i heads = hyb_heads_avx512(w, stride, jump);
    int e;
    to->d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads));
    to->min = affine ? _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(heads, 16))) : to->d;
    HYB_UNROLL
    for (e = 0; e < 4; e++, w += stride) {
        __m512i lo, hi;
        if (bytes) {
            lo = _mm512_xor_si512(hyb_four_avx512(w + qs, stride, jump), top); /* signed q -> q + 128 */
            hi = _mm512_xor_si512(hyb_four_avx512(w + qs + 16, stride, jump), top);
        } else {
            hi = hyb_four_avx512(w + qs, stride, jump);
            lo = _mm512_and_si512(hi, low4);
            hi = _mm512_and_si512(_mm512_srli_epi16(hi, 4), low4);
            if (qh) {
                lo = _mm512_mask_add_epi8(lo, hyb_four_bits(w + qh, stride, jump), lo, bit4);
                hi = _mm512_mask_add_epi8(hi, hyb_four_bits(w + qh + 2, stride, jump), hi, bit4);
            }
        }
        to->lo[e] = lo;
        to->hi[e] = hi;
    }
}

/* t of 16 blocks. offset: log2 of what was added to the signed q; affine: q is unsigned and the block has a min. */
HYB_INLINE HYB_TARGET_AVX512 __m512 hyb_dot16_avx512(const hyb_blocks16 *w, bool affine, int offset, const char *x)
{
    __m512i s = _mm512_load_si512(x + HYB_GROUP16_S), isum, v[4];
    __m512 t;
    int e;
    HYB_UNROLL
    for (e = 0; e < 4; e++) {
        v[e] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w->lo[e], _mm512_load_si512(x + 128 * e));
        v[e] = _mm512_dpbusd_epi32(v[e], w->hi[e], _mm512_load_si512(x + 128 * e + 64));
    }
    isum = hyb_sum_lanes_avx512(v[0], v[1], v[2], v[3]);
    if (!affine) isum = _mm512_sub_epi32(isum, _mm512_slli_epi32(s, (unsigned)offset));
    t = _mm512_mul_ps(_mm512_cvtepi32_ps(isum), w->d);
    return affine ? _mm512_fmadd_ps(w->min, _mm512_cvtepi32_ps(s), t) : t;
}

/* What this processor's own prefetching leaves out: without it, the time of the arithmetic is added to that of the
 * reads instead of hidden behind it. `bytes` of weights are worked on next; rows follow each other, so that far ahead
 * is the next rows. (Sapphire Rapids, one thread, GB/s of the
 * 12.5 that a plain read reaches: Q4_0 8.5 -> 11, Q8_0 10.5 -> 12, Q4_K 8 -> 12, Q6_K 9 -> 12. 1 KB ahead gives
 * less, and so do 4 KB.) */
enum { HYB_AHEAD_AVX512 = 2048 };
HYB_INLINE void hyb_ahead_avx512(const char *p, size_t bytes)
{
    size_t i;
    for (i = 0; i < bytes; i += 64) _mm_prefetch(p + HYB_AHEAD_AVX512 + i, _MM_HINT_T0);
}

/* halve(p, 8) */
HYB_INLINE HYB_TARGET_AVX512 float hyb_halve_avx512(__m256 p)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

    /* Two halves of the terms of 16 blocks, times d, to the sums they belong to. */
    #define HYB_ADD16_AVX512(t, d, lo, lo_valid, hi, hi_valid) \
        (lo = _mm256_mask3_fmadd_ps(_mm512_castps512_ps256(t), _mm256_load_ps(d), lo, (__mmask8)(lo_valid)), \
         hi = _mm256_mask3_fmadd_ps(_mm512_extractf32x8_ps(t, 1), _mm256_load_ps((d) + 8), hi, (__mmask8)(hi_valid)))

    /* n rows of x, act_bytes apart, to y[m * y_stride + r - r0]. Weights are unpacked once. A row's last group reads on
     * into the next rows, whose blocks count for nothing; at the end of the rows it comes from a copy. Half-empty last
     * groups are done for two rows at a time, while there are more rows to read on into. */
    #define HYB_ROWS32_AVX512(type, qs, qh, bytes, affine, offset) \
        HYB_INLINE HYB_TARGET_AVX512 void hyb_rows_avx512_##type(const int n, const void *w, size_t row_bytes, \
                                                                 int64_t k, const void *act, float *y, \
                                                                 int64_t y_stride, int64_t r0, int64_t r1) \
        { \
            const size_t stride = sizeof(hyb_block_##type), act_bytes = hyb_one32_bytes_avx512(k); \
            const char *row_end = (const char *)w + (size_t)r1 * row_bytes; \
            const int64_t blocks = k / 32, whole = hyb_one32_paired(k) ? blocks / 16 * 16 : blocks; \
            const unsigned tail = (1u << (blocks - whole)) - 1; \
            const char *x_tail = (const char *)act + (size_t)(whole / 16 + 1) * HYB_GROUP16; \
            char copy[16 * sizeof(hyb_block_##type)]; \
            hyb_blocks16 some; \
            int64_t b, r; \
            memset(copy, 0, sizeof copy); \
            for (r = r0; r < r1; r++) { \
                __m256 p[2][HYB_MATMUL_FEW]; \
                const bool pair = whole < blocks && r + 2 < r1 && row_bytes >= 8 * stride; \
                const char *xm; \
                int i, m; \
                for (i = 0; i <= pair; i++) { \
                    const char *row = (const char *)w + (size_t)(r + i) * row_bytes, *x = (const char *)act; \
                    for (m = 0; m < n; m++) p[i][m] = _mm256_setzero_ps(); \
                    for (b = 0; b < (pair ? whole : blocks); b += 16, row += 16 * stride, x += HYB_GROUP16) { \
                        const unsigned valid = blocks - b < 16 ? (1u << (blocks - b)) - 1 : 0xFFFF; \
                        const char *from = row; \
                        hyb_ahead_avx512(row, 16 * stride); \
                        if ((size_t)(row_end - row) < 16 * stride) \
                            from = (const char *)memcpy(copy, row, (size_t)(blocks - b) * stride); \
                        hyb_blocks16_avx512(from, stride, 8 * stride, qs, qh, bytes, affine, &some); \
                        for (m = 0, xm = x; m < n; m++, xm += act_bytes) { \
                            const __m512 t = hyb_dot16_avx512(&some, affine, offset, xm); \
                            HYB_ADD16_AVX512(t, (const float *)(const void *)(xm + HYB_GROUP16_D), p[i][m], valid, \
                                             p[i][m], valid >> 8); \
                        } \
                    } \
                } \
                if (pair) { \
                    hyb_blocks16_avx512((const char *)w + (size_t)r * row_bytes + (size_t)whole * stride, stride, \
                                        row_bytes, qs, qh, bytes, affine, &some); \
                    for (m = 0, xm = x_tail; m < n; m++, xm += act_bytes) { \
                        const __m512 t = hyb_dot16_avx512(&some, affine, offset, xm); \
                        HYB_ADD16_AVX512(t, (const float *)(const void *)(xm + HYB_GROUP16_D), p[0][m], tail, p[1][m], \
                                         tail); \
                    } \
                } \
                for (i = 0; i <= pair; i++) \
                    for (m = 0; m < n; m++) y[m * y_stride + (r + i - r0)] = hyb_halve_avx512(p[i][m]); \
                r += pair; \
            } \
        } \
        HYB_ROWS_AVX512(type)

    /* gemv, and the same for few rows of x. */
    #define HYB_ROWS_AVX512(type) \
        HYB_TARGET_AVX512 static void hyb_gemv_avx512_##type(const void *w, size_t row_bytes, int64_t k, \
                                                             const void *act, float *y, int64_t r0, int64_t r1) \
        { \
            hyb_rows_avx512_##type(1, w, row_bytes, k, act, y, 0, r0, r1); \
        } \
        HYB_TARGET_AVX512 static void hyb_few_avx512_##type(const void *w, size_t row_bytes, int64_t k, \
                                                            const void *acts, int n, float *y, int64_t y_stride, \
                                                            int64_t r0, int64_t r1) \
        { \
            hyb_rows_avx512_##type(n, w, row_bytes, k, acts, y, y_stride, r0, r1); \
        }
HYB_ROWS32_AVX512(q4_0, 2, 0, false, false, 3)
HYB_ROWS32_AVX512(q4_1, 4, 0, false, true, 0)
HYB_ROWS32_AVX512(q5_0, 6, 2, false, false, 4)
HYB_ROWS32_AVX512(q5_1, 8, 4, false, true, 0)
HYB_ROWS32_AVX512(q8_0, 2, 0, true, false, 7)
    #undef HYB_ROWS32_AVX512

/* One row for super-blocks: as int/act.c has it, then sums of 32 (k/32 int16). */
HYB_INLINE size_t hyb_one256_s32(int64_t k) { return hyb_act256_s(k) + hyb_align((size_t)k / 8, 64); }
static size_t hyb_one256_bytes_avx512(int64_t k) { return hyb_one256_s32(k) + hyb_align((size_t)k / 16, 64); }

HYB_TARGET_AVX512 static void hyb_one256_prepare_avx512(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hyb_act256_d(k));
    int16_t *s16 = (int16_t *)(void *)((char *)act + hyb_act256_s(k)),
            *s32 = (int16_t *)(void *)((char *)act + hyb_one256_s32(k));
    int64_t b;
    int i;
    for (b = 0; b < k / 256; b++, x += 256, q += 256, s16 += 16, s32 += 8) {
        __m512i a = _mm512_setzero_si512();
        float id;
        for (i = 0; i < 16; i++) a = _mm512_max_epu32(a, hyb_abs_bits_avx512(_mm512_loadu_ps(x + i * 16)));
        d[b] = hyb_bits_f32(_mm512_reduce_max_epu32(a)) / 127.0f;
        id = hyb_act_inverse(d[b]);
        for (i = 0; i < 16; i++) {
            __m512i v = hyb_quant16_avx512(_mm512_loadu_ps(x + i * 16), id);
            _mm_store_si128((__m128i *)(void *)(q + i * 16), _mm512_cvtepi32_epi8(v));
            s16[i] = (int16_t)_mm512_reduce_add_epi32(v);
        }
        for (i = 0; i < 8; i++) s32[i] = (int16_t)(s16[2 * i] + s16[2 * i + 1]);
    }
}
static const hyb_act_format hyb_one256_avx512 = { hyb_one256_bytes_avx512, hyb_one256_prepare_avx512 };

/* 32 bytes, twice. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_twice_avx512(const void *p)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}
/* a in the low, b in the high 256 bits, as dwords */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_halves_avx512(int a, int b)
{
    return _mm512_inserti64x4(_mm512_set1_epi32(a), _mm256_set1_epi32(b), 1);
}

/* Weights 64c..64c+63 of a super-block as unsigned bytes in order (c is a constant). */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_q2_avx512(const uint8_t *qs, int c)
{
    return _mm512_and_si512(_mm512_srlv_epi32(hyb_twice_avx512(qs + c / 2 * 32),
                                              hyb_halves_avx512(c % 2 * 4, c % 2 * 4 + 2)),
                            _mm512_set1_epi8(3));
}
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_q4_avx512(const uint8_t *qs, int c)
{
    return _mm512_and_si512(_mm512_srlv_epi32(hyb_twice_avx512(qs + c * 32), hyb_halves_avx512(0, 4)),
                            _mm512_set1_epi8(15));
}
/* q | bit 2c (low half), 2c+1 (high half) of the 32 bytes at p, moved to bit `to`. A rotation of dwords moves bits
 * inside their bytes, too. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_high_bit_avx512(__m512i q, const uint8_t *p, int c, int to)
{
    __m512i h = _mm512_rolv_epi32(hyb_twice_avx512(p), hyb_halves_avx512(to - 2 * c, to - 2 * c - 1));
    return _mm512_ternarylogic_epi32(q, h, _mm512_set1_epi8((char)(1 << to)), 0xF8);
}
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_q6_avx512(const hyb_block_q6_K *b, int c)
{
    __m512i q = _mm512_loadu_si512(b->ql + c / 2 * 64);
    __m512i h =
        _mm512_rolv_epi32(hyb_twice_avx512(b->qh + c / 2 * 32), hyb_halves_avx512(4 - c % 2 * 4, 2 - c % 2 * 4));
    q = _mm512_and_si512(c % 2 ? _mm512_srli_epi16(q, 4) : q, _mm512_set1_epi8(15));
    return _mm512_ternarylogic_epi32(q, h, _mm512_set1_epi8(0x30), 0xF8);
}

/* A super-block of weights, as rows of activations meet it: unsigned bytes in order, the scales of their sub-blocks
 * (for the sums of 0 and 1, and of 2 and 3, packed to words), and what the sums of 16 activations, or of 32, are
 * multiplied by; d | dmin << 16. */
typedef struct hyb_super_weights {
    __m512i q[4], scale[2];
    __m256i min16;
    __m128i min32;
    uint32_t head;
} hyb_super_weights;

/* 8 unsigned scales of sub-blocks of 32; 16 signed ones of sub-blocks of 16. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_scales32_avx512(uint64_t sc, __m512i to[2])
{
    const __m512i even =
        _mm512_set_epi64((int64_t)0x8007800780078007, (int64_t)0x8005800580058005, (int64_t)0x8007800780078007,
                         (int64_t)0x8005800580058005, (int64_t)0x8006800680068006, (int64_t)0x8004800480048004,
                         (int64_t)0x8006800680068006, (int64_t)0x8004800480048004);
    const __m512i all = _mm512_set1_epi64((int64_t)sc);
    to[0] = _mm512_shuffle_epi8(all, _mm512_sub_epi8(even, _mm512_set1_epi16(4)));
    to[1] = _mm512_shuffle_epi8(all, even);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_scales16_avx512(__m128i sc, __m512i to[2])
{
    /* lane L: scales L and 4 + L (8 more for sums 2 and 3), in the high bytes of words */
    const __m512i at = _mm512_set_epi64(0x0780078007800780, 0x0380038003800380, 0x0680068006800680, 0x0280028002800280,
                                        0x0580058005800580, 0x0180018001800180, 0x0480048004800480, 0x0080008000800080);
    const __m512i all = _mm512_broadcast_i32x4(sc);
    to[0] = _mm512_srai_epi16(_mm512_shuffle_epi8(all, at), 8);
    to[1] = _mm512_srai_epi16(_mm512_shuffle_epi8(all, _mm512_add_epi8(at, _mm512_set1_epi16(0x0800))), 8);
}

HYB_INLINE HYB_TARGET_AVX512 void hyb_super_avx512_q2_K(const void *block, hyb_super_weights *to)
{
    const hyb_block_q2_K *b = (const hyb_block_q2_K *)block;
    const __m128i scales = _mm_loadu_si128((const __m128i *)(const void *)b->scales), low4 = _mm_set1_epi8(15);
    int c;
    HYB_UNROLL
    for (c = 0; c < 4; c++) to->q[c] = hyb_q2_avx512(b->qs, c);
    hyb_scales16_avx512(_mm_and_si128(scales, low4), to->scale);
    to->min16 = _mm256_cvtepi8_epi16(_mm_and_si128(_mm_srli_epi16(scales, 4), low4));
    to->head = hyb_load_u32(&b->d);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_super_avx512_q3_K(const void *block, hyb_super_weights *to)
{
    const hyb_block_q3_K *b = (const hyb_block_q3_K *)block;
    uint64_t s0, s1;
    __m128i sc;
    int c;
    HYB_UNROLL
    for (c = 0; c < 4; c++) to->q[c] = hyb_high_bit_avx512(hyb_q2_avx512(b->qs, c), b->hmask, c, 2);
    hyb_scales_q3_words(b->scales, &s0, &s1);
    sc = _mm_sub_epi8(_mm_set_epi64x((int64_t)s1, (int64_t)s0), _mm_set1_epi8(32));
    hyb_scales16_avx512(sc, to->scale);
    to->min16 = _mm256_slli_epi16(_mm256_cvtepi8_epi16(sc), 2);
    to->head = hyb_load_u16(&b->d);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_super_scales_k4(const uint8_t *scales, hyb_super_weights *to)
{
    uint64_t sc, m;
    hyb_scales_k4_words(scales, &sc, &m);
    hyb_scales32_avx512(sc, to->scale);
    to->min32 = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)m));
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_super_avx512_q4_K(const void *block, hyb_super_weights *to)
{
    const hyb_block_q4_K *b = (const hyb_block_q4_K *)block;
    int c;
    HYB_UNROLL
    for (c = 0; c < 4; c++) to->q[c] = hyb_q4_avx512(b->qs, c);
    hyb_super_scales_k4(b->scales, to);
    to->head = hyb_load_u32(&b->d);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_super_avx512_q5_K(const void *block, hyb_super_weights *to)
{
    const hyb_block_q5_K *b = (const hyb_block_q5_K *)block;
    int c;
    HYB_UNROLL
    for (c = 0; c < 4; c++) to->q[c] = hyb_high_bit_avx512(hyb_q4_avx512(b->qs, c), b->qh, c, 4);
    hyb_super_scales_k4(b->scales, to);
    to->head = hyb_load_u32(&b->d);
}
HYB_INLINE HYB_TARGET_AVX512 void hyb_super_avx512_q6_K(const void *block, hyb_super_weights *to)
{
    const hyb_block_q6_K *b = (const hyb_block_q6_K *)block;
    const __m128i sc = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    int c;
    HYB_UNROLL
    for (c = 0; c < 4; c++) to->q[c] = hyb_q6_avx512(b, c);
    hyb_scales16_avx512(sc, to->scale);
    to->min16 = _mm256_slli_epi16(_mm256_cvtepi8_epi16(sc), 5);
    to->head = hyb_load_u16(&b->d);
}

/* 16 partial sums of isum of a super-block. Sums of 4 products fit 16 bits. */
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_super_dot_avx512(const hyb_super_weights *w, const char *x)
{
    const __m512i zero = _mm512_setzero_si512();
    #define HYB_Q(c) _mm512_dpbusd_epi32(zero, w->q[c], _mm512_load_si512(x + 64 * (c)))
    const __m512i a = _mm512_dpwssd_epi32(zero, _mm512_packs_epi32(HYB_Q(0), HYB_Q(1)), w->scale[0]);
    return _mm512_dpwssd_epi32(a, _mm512_packs_epi32(HYB_Q(2), HYB_Q(3)), w->scale[1]);
    #undef HYB_Q
}
/* 8 partial sums of msum, or of what is to be subtracted from isum. by: the sums of 16 activations, or of 32. */
HYB_INLINE HYB_TARGET_AVX512 __m256i hyb_super_less_avx512(const hyb_super_weights *w, const char *sums, int by)
{
    if (by == 16) return _mm256_madd_epi16(w->min16, _mm256_load_si256((const __m256i *)(const void *)sums));
    return _mm256_zextsi128_si256(_mm_madd_epi16(w->min32, _mm_load_si128((const __m128i *)(const void *)sums)));
}

/* Vectors 0..3 hold two sets of 8 partial sums each (sets j and j + 4): the 8 sums. */
HYB_INLINE HYB_TARGET_AVX512 __m256i hyb_sum_sets_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3)
{
    __m512i v = hyb_sum_lanes_avx512(v0, v1, v2, v3);
    return _mm512_castsi512_si256(_mm512_add_epi32(_mm512_shuffle_i32x4(v, v, 0x08), _mm512_shuffle_i32x4(v, v, 0x0D)));
}
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_fold_avx512(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xEE));
}
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_join_avx512(const __m256i *m)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(m[0]), m[4], 1);
}

/* t of 8 super-blocks. */
HYB_INLINE HYB_TARGET_AVX512 __m256 hyb_super_t_avx512(const __m512i *is, const __m256i *ms, __m256 scale, __m256 min,
                                                       bool affine)
{
    __m256i i8 = hyb_sum_sets_avx512(hyb_fold_avx512(is[0], is[4]), hyb_fold_avx512(is[1], is[5]),
                                     hyb_fold_avx512(is[2], is[6]), hyb_fold_avx512(is[3], is[7]));
    const __m256i m8 = hyb_sum_sets_avx512(hyb_join_avx512(ms), hyb_join_avx512(ms + 1), hyb_join_avx512(ms + 2),
                                           hyb_join_avx512(ms + 3));
    if (!affine) return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(i8, m8)), scale);
    return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m8), min, _mm256_mul_ps(_mm256_cvtepi32_ps(i8), scale));
}

    /* by: activations that a min (or an offset) belongs to. */
    #define HYB_ROWS256_AVX512(type, affine, by) \
        HYB_INLINE HYB_TARGET_AVX512 void hyb_rows_avx512_##type(const int n, const void *w, size_t row_bytes, \
                                                                 int64_t k, const void *act, float *y, \
                                                                 int64_t y_stride, int64_t r0, int64_t r1) \
        { \
            const size_t act_bytes = hyb_one256_bytes_avx512(k), d = hyb_act256_d(k), \
                         sums = by == 16 ? hyb_act256_s(k) : hyb_one256_s32(k); \
            __m512i isum[HYB_MATMUL_FEW][8]; \
            __m256i msum[HYB_MATMUL_FEW][8]; \
            uint32_t heads[8]; \
            int64_t blocks = k / 256, b, r; \
            int j, m; \
            for (j = 0; j < 8; j++) { \
                for (m = 0; m < n; m++) { \
                    isum[m][j] = _mm512_setzero_si512(); \
                    msum[m][j] = _mm256_setzero_si256(); \
                } \
                heads[j] = 0; \
            } \
            for (r = r0; r < r1; r++) { \
                const char *row = (const char *)w + (size_t)r * row_bytes; \
                __m256 p[HYB_MATMUL_FEW]; \
                for (m = 0; m < n; m++) p[m] = _mm256_setzero_ps(); \
                for (b = 0; b < blocks; b += 8) { \
                    const int count = (int)HYB_MIN(blocks - b, 8); \
                    const char *x = (const char *)act; \
                    __m256 scale, min; \
                    __m256i h8; \
                    for (j = 0; j < count; j++, row += sizeof(hyb_block_##type)) { \
                        hyb_super_weights super; \
                        hyb_ahead_avx512(row, sizeof(hyb_block_##type)); \
                        hyb_super_avx512_##type(row, &super); \
                        heads[j] = super.head; \
                        for (m = 0, x = (const char *)act; m < n; m++, x += act_bytes) { \
                            isum[m][j] = hyb_super_dot_avx512(&super, x + (b + j) * 256); \
                            msum[m][j] = hyb_super_less_avx512(&super, x + sums + (b + j) * (512 / by), by); \
                        } \
                    } \
                    h8 = _mm256_loadu_si256((const __m256i *)(const void *)heads); \
                    scale = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(h8)); \
                    min = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(h8, 16))); \
                    for (m = 0, x = (const char *)act; m < n; m++, x += act_bytes) \
                        p[m] = _mm256_mask3_fmadd_ps(hyb_super_t_avx512(isum[m], msum[m], scale, min, affine), \
                                                     _mm256_loadu_ps((const float *)(const void *)(x + d) + b), p[m], \
                                                     (__mmask8)((1u << count) - 1)); \
                } \
                for (m = 0; m < n; m++) y[m * y_stride + (r - r0)] = hyb_halve_avx512(p[m]); \
            } \
        } \
        HYB_ROWS_AVX512(type)
HYB_ROWS256_AVX512(q2_K, true, 16)
HYB_ROWS256_AVX512(q3_K, false, 16)
HYB_ROWS256_AVX512(q4_K, true, 32)
HYB_ROWS256_AVX512(q5_K, true, 32)
HYB_ROWS256_AVX512(q6_K, false, 16)
    #undef HYB_ROWS256_AVX512
    #undef HYB_ROWS_AVX512

#endif
#endif
