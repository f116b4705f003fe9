/* compute/cpu/int/repack: matrices laid out again for decode, where somebody asked for the memory that it takes: 8 rows
 * side by side, so that each lane of a vector is a row. No sums across lanes are left, rows of any length have no tail,
 * and the order is that of NUMERICS.md: the same bits.
 *
 * Groups of 8 rows take the bytes that they take in the file; what rows % 8 leaves is not in the copy. "Dword i of 8
 * rows" is 32 bytes.
 *   Q4_0   d of block 0 of 8 rows, d of block 1, ..; then for each block dwords 0-3 of qs of 8 rows
 *   Q4_K   for each super-block: dwords 0-35 of 8 rows: d | dmin, 3 of scales, 32 of qs */
#ifndef HYB_COMPUTE_CPU_INT_REPACK_C
#define HYB_COMPUTE_CPU_INT_REPACK_C
#include "avx2.c"

typedef struct hyb_repack {
    /* Rows r0 .. r1 (multiples of 8) of w to the same rows of `to`. */
    void (*lay)(const char *w, size_t row_bytes, int64_t k, int64_t r0, int64_t r1, char *to);
    /* As hyb_matmul_kernel's, of `to`, and reading activations in the same format. */
    void (*gemv)(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1);
} hyb_repack;

enum { HYB_REPACK_ROWS = 8 };

#if defined(HYB_X86)

/* 4 dwords from `at` on of 8 rows. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_lay_dwords_avx2(const char *at, size_t row_bytes, char *to)
{
    const __m256i a = hyb_two_avx2(at, at + 4 * row_bytes), b = hyb_two_avx2(at + row_bytes, at + 5 * row_bytes);
    const __m256i c = hyb_two_avx2(at + 2 * row_bytes, at + 6 * row_bytes);
    const __m256i d = hyb_two_avx2(at + 3 * row_bytes, at + 7 * row_bytes);
    const __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    const __m256i ab2 = _mm256_unpackhi_epi32(a, b), cd2 = _mm256_unpackhi_epi32(c, d);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_unpacklo_epi64(ab, cd));
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), _mm256_unpackhi_epi64(ab, cd));
    _mm256_storeu_si256((__m256i *)(void *)(to + 64), _mm256_unpacklo_epi64(ab2, cd2));
    _mm256_storeu_si256((__m256i *)(void *)(to + 96), _mm256_unpackhi_epi64(ab2, cd2));
}
HYB_TARGET_AVX2 static void hyb_lay_q4_0(const char *w, size_t row_bytes, int64_t k, int64_t r0, int64_t r1, char *to)
{
    const int64_t blocks = k / 32;
    int64_t b;
    int r;
    for (; r0 < r1; r0 += 8) {
        const char *at = w + (size_t)r0 * row_bytes;
        char *d = to + (size_t)r0 * row_bytes, *q = d + blocks * 16;
        for (b = 0; b < blocks; b++, at += sizeof(hyb_block_q4_0), d += 16, q += 128) {
            for (r = 0; r < 8; r++) hyb_store_u16(d + 2 * r, hyb_load_u16(at + (size_t)r * row_bytes));
            hyb_lay_dwords_avx2(at + offsetof(hyb_block_q4_0, qs), row_bytes, q);
        }
    }
}
HYB_TARGET_AVX2 static void hyb_lay_q4_K(const char *w, size_t row_bytes, int64_t k, int64_t r0, int64_t r1, char *to)
{
    size_t i;
    HYB_UNUSED(k);
    for (; r0 < r1; r0 += 8)
        for (i = 0; i < row_bytes; i += 16)
            hyb_lay_dwords_avx2(w + (size_t)r0 * row_bytes + i, row_bytes, to + (size_t)r0 * row_bytes + i * 8);
}

/* halve(p, 8) of 8 rows. */
HYB_INLINE HYB_TARGET_AVX2 void hyb_halve_rows_avx2(const __m256 *p, float *y)
{
    const __m256 even = _mm256_add_ps(_mm256_add_ps(p[0], p[4]), _mm256_add_ps(p[2], p[6]));
    _mm256_storeu_ps(y, _mm256_add_ps(even, _mm256_add_ps(_mm256_add_ps(p[1], p[5]), _mm256_add_ps(p[3], p[7]))));
}
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_all_avx2(const char *p) { return _mm256_set1_epi32((int)hyb_load_u32(p)); }
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_halfs8_avx2(const char *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* A block of 8 rows: q * x, in pairs of 16 bits that hold 8 products each: up to 8 * 2 * 15 * 127. x: 4 dwords of its
 * first half, 32 bytes after them those of its second. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_rows8_q4_0(const char *q, const char *x)
{
    const __m256i low4 = _mm256_set1_epi8(15);
    __m256i sum = _mm256_setzero_si256();
    int i;
    HYB_UNROLL
    for (i = 0; i < 4; i++) {
        const __m256i v = hyb_load_avx2(q + 32 * i);
        const __m256i lo = _mm256_and_si256(v, low4), hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), low4);
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(lo, hyb_all_avx2(x + 4 * i)));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(hi, hyb_all_avx2(x + 32 + 4 * i)));
    }
    return sum;
}
/* Block e of a group of 8 of those: q, d are the block's, group the activations of the group. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_add8_q4_0(const char *q, const char *d, const char *group, int e, __m256 p)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i s = _mm256_madd_epi16(hyb_rows8_q4_0(q, group + e % 4 * 64 + e / 4 * 16), one);
    s = _mm256_sub_epi32(s, hyb_all_avx2(group + HYB_GROUP8_S + 4 * e));
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(s), hyb_halfs8_avx2(d)),
                           _mm256_castsi256_ps(hyb_all_avx2(group + HYB_GROUP8_D + 4 * e)), p);
}
HYB_TARGET_AVX2 static void hyb_gemv_repacked_q4_0(const void *w, size_t row_bytes, int64_t k, const void *act,
                                                   float *y, int64_t r0, int64_t r1)
{
    const int64_t blocks = k / 32, full = blocks / 8 * 8;
    int64_t b;
    int e;
    for (; r0 < r1; r0 += 8, y += 8) {
        const char *d = (const char *)w + (size_t)r0 * row_bytes, *q = d + blocks * 16, *group = (const char *)act,
                   *ahead = d;
        __m256 p[8];
        for (e = 0; e < 8; e++) p[e] = _mm256_setzero_ps();
        for (b = 0; b < full; b += 8, group += HYB_GROUP8, d += 128, q += 1024, ahead += 1152) {
            hyb_ahead_avx2(ahead, 1152);
            HYB_UNROLL
            for (e = 0; e < 8; e++) p[e] = hyb_add8_q4_0(q + 128 * e, d + 16 * e, group, e, p[e]);
        }
        for (e = 0; b + e < blocks; e++) p[e] = hyb_add8_q4_0(q + 128 * e, d + 16 * e, group, e, p[e]);
        hyb_halve_rows_avx2(p, y);
    }
}

/* Byte i of each dword, in both of its words; bytes i and i + 1, each in a word. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_byte_of_dwords_avx2(__m256i v, int first, int second)
{
    const __m128i at =
        _mm_setr_epi8((char)first, -1, (char)second, -1, (char)(first + 4), -1, (char)(second + 4), -1,
                      (char)(first + 8), -1, (char)(second + 8), -1, (char)(first + 12), -1, (char)(second + 12), -1);
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(at));
}
/* 64 values of a super-block of 8 rows times x, and the scales of both halves. */
HYB_INLINE HYB_TARGET_AVX2 __m256i hyb_rows8_q4_K(const char *q, const char *x, __m256i scale0, __m256i scale1)
{
    const __m256i low4 = _mm256_set1_epi8(15);
    __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0;
    int i;
    HYB_UNROLL
    for (i = 0; i < 8; i++) {
        const __m256i v = hyb_load_avx2(q + 32 * i);
        const __m256i lo = _mm256_and_si256(v, low4), hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), low4);
        sum0 = _mm256_add_epi16(sum0, _mm256_maddubs_epi16(lo, hyb_all_avx2(x + 4 * i)));
        sum1 = _mm256_add_epi16(sum1, _mm256_maddubs_epi16(hi, hyb_all_avx2(x + 32 + 4 * i)));
    }
    return _mm256_add_epi32(_mm256_madd_epi16(sum0, scale0), _mm256_madd_epi16(sum1, scale1));
}
/* t of a super-block of 8 rows. */
HYB_INLINE HYB_TARGET_AVX2 __m256 hyb_t8_q4_K(const char *w, const char *x, const char *s32)
{
    const __m256i low6 = _mm256_set1_epi8(0x3F), low4 = _mm256_set1_epi8(15), high = _mm256_set1_epi8(0x30);
    const __m256i a = hyb_load_avx2(w + 32), b = hyb_load_avx2(w + 64), c = hyb_load_avx2(w + 96);
    const __m256i sc0 = _mm256_and_si256(a, low6), m0 = _mm256_and_si256(b, low6);
    const __m256i sc1 = _mm256_or_si256(_mm256_and_si256(c, low4), _mm256_and_si256(_mm256_srli_epi16(a, 2), high));
    const __m256i m1 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(c, 4), low4),
                                       _mm256_and_si256(_mm256_srli_epi16(b, 2), high));
    const __m256i heads = hyb_load_avx2(w);
    __m256i less, sum;
    __m256 t;
    less = _mm256_add_epi32(_mm256_madd_epi16(hyb_byte_of_dwords_avx2(m0, 0, 1), hyb_all_avx2(s32)),
                            _mm256_madd_epi16(hyb_byte_of_dwords_avx2(m0, 2, 3), hyb_all_avx2(s32 + 4)));
    less = _mm256_add_epi32(less, _mm256_madd_epi16(hyb_byte_of_dwords_avx2(m1, 0, 1), hyb_all_avx2(s32 + 8)));
    less = _mm256_add_epi32(less, _mm256_madd_epi16(hyb_byte_of_dwords_avx2(m1, 2, 3), hyb_all_avx2(s32 + 12)));
    #define HYB_QUARTER(i, sc, byte) \
        hyb_rows8_q4_K(w + 128 + 256 * (i), x + 64 * (i), hyb_byte_of_dwords_avx2(sc, byte, byte), \
                       hyb_byte_of_dwords_avx2(sc, byte + 1, byte + 1))
    sum = HYB_QUARTER(0, sc0, 0);
    sum = _mm256_add_epi32(sum, HYB_QUARTER(1, sc0, 2));
    sum = _mm256_add_epi32(sum, HYB_QUARTER(2, sc1, 0));
    sum = _mm256_add_epi32(sum, HYB_QUARTER(3, sc1, 2));
    #undef HYB_QUARTER
    t = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), hyb_halfs_avx2(heads));
    return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(less), hyb_halfs_avx2(_mm256_srli_epi32(heads, 16)), t);
}
HYB_TARGET_AVX2 static void hyb_gemv_repacked_q4_K(const void *w, size_t row_bytes, int64_t k, const void *act,
                                                   float *y, int64_t r0, int64_t r1)
{
    const char *at = (const char *)w + (size_t)r0 * row_bytes, *x = (const char *)act;
    const char *s32 = x + hyb_super_s32(k), *d = x + hyb_super_d(k);
    int64_t b;
    for (; r0 < r1; r0 += 8, y += 8) {
        __m256 p[8];
        for (b = 0; b < 8; b++) p[b] = _mm256_setzero_ps();
        for (b = 0; b < k / 256; b++, at += 8 * sizeof(hyb_block_q4_K)) {
            hyb_ahead_avx2(at, 8 * sizeof(hyb_block_q4_K));
            p[b % 8] = _mm256_fmadd_ps(hyb_t8_q4_K(at, x + b * 256, s32 + b * 16),
                                       _mm256_castsi256_ps(hyb_all_avx2(d + b * 4)), p[b % 8]);
        }
        hyb_halve_rows_avx2(p, y);
    }
}
#endif

/* NULL: decode reads the file's layout with these kernels. */
static const hyb_repack *hyb_repack_for(hyb_isa isa, hybrid_type type)
{
#if defined(HYB_X86)
    static const hyb_repack q4_0 = { hyb_lay_q4_0, hyb_gemv_repacked_q4_0 };
    static const hyb_repack q4_K = { hyb_lay_q4_K, hyb_gemv_repacked_q4_K };
    const bool avx2 = isa == HYB_ISA_AVX2 || isa == HYB_ISA_AVXVNNI; /* they decode by the same kernels */
    if (avx2 && type == HYBRID_TYPE_Q4_0) return &q4_0;
    if (avx2 && type == HYBRID_TYPE_Q4_K) return &q4_K;
#endif
    HYB_UNUSED(isa);
    HYB_UNUSED(type);
    return NULL;
}
#endif
