/* compute/cpu_int_avx2: integer blocks with AVX2, FMA and F16C: decode straight from the file, prefill by panels of int16.
 *
 * Decode multiplies unsigned weights by signed activations (vpmaddubsw: pairs fit 16 bits up to 6-bit weights); prefill multiplies int16 by int16,
 * where a super-block's weight already holds the scale of its sub-block: exact, and one kernel for all types of a family. */
#if defined(HYBRID__X86)

/* ---- activations ---- */

/* 8 floats to int32, clamped; zeros when id is 0. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__quant8_avx2(const float *x, float id)
{
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(id)));
    q = _mm256_and_si256(q, _mm256_set1_epi32(id > 0 ? -1 : 0));
    return _mm256_max_epi32(_mm256_min_epi32(q, _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
}
/* The largest |x| of 8 n floats, divided by 127. */
HYBRID__INLINE HYBRID__TARGET_AVX2 float hybrid__act_scale_avx2(const float *x, int n)
{
    __m256i a = _mm256_setzero_si256();
    __m128i h;
    int i;
    for (i = 0; i < n; i++) a = _mm256_max_epu32(a, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), _mm256_set1_epi32(0x7FFFFFFF)));
    h = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0x4E));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0xB1));
    return hybrid__bits_f32((uint32_t)_mm_cvtsi128_si32(h)) / 127.0f;
}
/* 16 floats to 16 int16; adds their sum to *sum. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__quant16_avx2(const float *x, float id, int *sum)
{
    __m256i a = hybrid__quant8_avx2(x, id), b = hybrid__quant8_avx2(x + 8, id), s = _mm256_add_epi32(a, b);
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4E));
    *sum += _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xB1)));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m128i hybrid__bytes_avx2(__m256i words) { return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)); }

/* Decode, 32-weight blocks, in groups of 8: for e = 0..3: first halves of blocks e, e+4, second halves; then d[8] (float), sums of q [8] (int32). */
enum { HYBRID__GROUP8 = 320, HYBRID__GROUP8_D = 256, HYBRID__GROUP8_S = 288 };
static size_t hybrid__one32_bytes_avx2(int64_t k) { return (size_t)((k + 255) / 256) * HYBRID__GROUP8; }
HYBRID__TARGET_AVX2 static void hybrid__one32_prepare_avx2(const float *x, int64_t k, void *act)
{
    int64_t b, blocks = k / 32;
    if (blocks % 8) memset((char *)act + hybrid__one32_bytes_avx2(k) - HYBRID__GROUP8, 0, HYBRID__GROUP8);
    for (b = 0; b < blocks; b++, x += 32) {
        char *group = (char *)act + b / 8 * HYBRID__GROUP8, *at = group + b % 4 * 64 + b % 8 / 4 * 16;
        float d = hybrid__act_scale_avx2(x, 4), id = hybrid__act_inverse(d);
        int sum = 0;
        _mm_storeu_si128((__m128i *)(void *)at, hybrid__bytes_avx2(hybrid__quant16_avx2(x, id, &sum)));
        _mm_storeu_si128((__m128i *)(void *)(at + 32), hybrid__bytes_avx2(hybrid__quant16_avx2(x + 16, id, &sum)));
        ((float *)(void *)(group + HYBRID__GROUP8_D))[b % 8] = d;
        ((int32_t *)(void *)(group + HYBRID__GROUP8_S))[b % 8] = sum;
    }
}
static const hybrid__act_format hybrid__one32_avx2 = { hybrid__one32_bytes_avx2, hybrid__one32_prepare_avx2 };

/* Decode, super-blocks: the layout of cpu_int_act.c. */
HYBRID__TARGET_AVX2 static void hybrid__one256_prepare_avx2(const float *x, int64_t k, void *act)
{
    float *d = (float *)(void *)((char *)act + hybrid__act256_d(k));
    int16_t *s = (int16_t *)(void *)((char *)act + hybrid__act256_s(k));
    int64_t b;
    for (b = 0; b < k / 16; b++) {
        int sum = 0;
        if (b % 16 == 0) d[b / 16] = hybrid__act_scale_avx2(x + b * 16, 32);
        _mm_storeu_si128((__m128i *)(void *)((char *)act + b * 16), hybrid__bytes_avx2(hybrid__quant16_avx2(x + b * 16, hybrid__act_inverse(d[b / 16]), &sum)));
        s[b] = (int16_t)sum;
    }
}
static const hybrid__act_format hybrid__one256_avx2 = { hybrid__act256_bytes, hybrid__one256_prepare_avx2 };

/* Prefill: q as int16, d (floats), and of 32-weight blocks the sums of q (floats), of super-blocks sums of 16 q (int16); in the order of runs. */
HYBRID__INLINE size_t hybrid__wide_s(int64_t k) { return (size_t)k * 2 + hybrid__align((size_t)k / 8, 64); }
static size_t hybrid__wide_bytes(int64_t k) { return (hybrid__wide_s(k) + hybrid__align((size_t)k / 8, 64)) | 64; }
HYBRID__TARGET_AVX2 static void hybrid__wide_prepare(const float *x, int64_t k, void *act, int block)
{
    float *d = (float *)(void *)((char *)act + (size_t)k * 2), *s32 = (float *)(void *)((char *)act + hybrid__wide_s(k));
    int16_t *s16 = (int16_t *)(void *)s32;
    int64_t run[9], b;
    int i;
    hybrid__runs(k / block, run);
    for (b = 0; b < k / block; b++, x += block) {
        int64_t at = hybrid__run_position(run, b);
        float id;
        int sum = 0;
        d[at] = hybrid__act_scale_avx2(x, block / 8);
        id = hybrid__act_inverse(d[at]);
        for (i = 0; i < block / 16; i++) {
            if (block == 256) sum = 0;
            _mm256_store_si256((__m256i *)(void *)((int16_t *)act + at * block + 16 * i), hybrid__quant16_avx2(x + 16 * i, id, &sum));
            if (block == 256) s16[at * 16 + i] = (int16_t)sum;
        }
        if (block == 32) s32[at] = (float)sum;
    }
}
static void hybrid__wide32_prepare(const float *x, int64_t k, void *act) { hybrid__wide_prepare(x, k, act, 32); }
static void hybrid__wide256_prepare(const float *x, int64_t k, void *act) { hybrid__wide_prepare(x, k, act, 256); }
static const hybrid__act_format hybrid__many32_avx2 = { hybrid__wide_bytes, hybrid__wide32_prepare };
static const hybrid__act_format hybrid__many256_avx2 = { hybrid__wide_bytes, hybrid__wide256_prepare };

/* ---- decode, 32-weight blocks ---- */

HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__two_avx2(const char *a, const char *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a)), _mm_loadu_si128((const __m128i *)(const void *)b), 1);
}
/* 16 where the bit of a byte's number is set: two bytes of bits for each lane. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__bits_avx2(const char *a, const char *b)
{
    const __m256i each = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(_mm256_set_m128i(_mm_cvtsi32_si128(hybrid__load_u16(b)), _mm_cvtsi32_si128(hybrid__load_u16(a))),
                                    _mm256_set_epi64x(0x0101010101010101, 0, 0x0101010101010101, 0));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, each), each), _mm256_set1_epi8(16));
}
/* Sums of the dwords of 128-bit lanes: lane L, dword e: lane L of v_e. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__sum_lanes_avx2(__m256i v0, __m256i v1, __m256i v2, __m256i v3)
{
    __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(v0, v1), _mm256_unpackhi_epi32(v0, v1));
    __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(v2, v3), _mm256_unpackhi_epi32(v2, v3));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
/* Low halves of 8 dwords as floats. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256 hybrid__halfs_avx2(__m256i v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0x08)));
}

/* Blocks e, e+4 of a group times their activations: 4 partial sums a block. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__dot_two_avx2(const char *w, size_t stride, size_t qs, size_t qh, bool bytes, const char *x)
{
    const __m256i low4 = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
    __m256i x0 = _mm256_load_si256((const __m256i *)(const void *)x), x1 = _mm256_load_si256((const __m256i *)(const void *)(x + 32)), lo, hi;
    if (bytes) {
        lo = hybrid__two_avx2(w + qs, w + 4 * stride + qs);
        hi = hybrid__two_avx2(w + qs + 16, w + 4 * stride + qs + 16);
        return _mm256_add_epi32(_mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(lo), _mm256_sign_epi8(x0, lo)), one),
                                _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(hi), _mm256_sign_epi8(x1, hi)), one));
    }
    hi = hybrid__two_avx2(w + qs, w + 4 * stride + qs);
    lo = _mm256_and_si256(hi, low4);
    hi = _mm256_and_si256(_mm256_srli_epi16(hi, 4), low4);
    if (qh) {
        lo = _mm256_or_si256(lo, hybrid__bits_avx2(w + qh, w + 4 * stride + qh));
        hi = _mm256_or_si256(hi, hybrid__bits_avx2(w + qh + 2, w + 4 * stride + qh + 2));
    }
    return _mm256_madd_epi16(_mm256_add_epi16(_mm256_maddubs_epi16(lo, x0), _mm256_maddubs_epi16(hi, x1)), one);
}

/* t of 8 blocks. shift: log2 of the offset of q (0: q is signed, or the block has a min). */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256 hybrid__dot8_avx2(const char *w, size_t stride, size_t qs, size_t qh, bool bytes, bool affine, int shift, const char *x)
{
    __m256i s = _mm256_load_si256((const __m256i *)(const void *)(x + HYBRID__GROUP8_S)), isum, heads;
    __m256 t;
    heads = _mm256_set_epi32((int)hybrid__load_u32(w + 7 * stride), (int)hybrid__load_u32(w + 6 * stride), (int)hybrid__load_u32(w + 5 * stride),
                             (int)hybrid__load_u32(w + 4 * stride), (int)hybrid__load_u32(w + 3 * stride), (int)hybrid__load_u32(w + 2 * stride),
                             (int)hybrid__load_u32(w + stride), (int)hybrid__load_u32(w));
    isum = hybrid__sum_lanes_avx2(hybrid__dot_two_avx2(w, stride, qs, qh, bytes, x), hybrid__dot_two_avx2(w + stride, stride, qs, qh, bytes, x + 64),
                                  hybrid__dot_two_avx2(w + 2 * stride, stride, qs, qh, bytes, x + 128), hybrid__dot_two_avx2(w + 3 * stride, stride, qs, qh, bytes, x + 192));
    if (shift) isum = _mm256_sub_epi32(isum, _mm256_slli_epi32(s, shift));
    t = _mm256_mul_ps(_mm256_cvtepi32_ps(isum), hybrid__halfs_avx2(heads));
    if (affine) t = _mm256_fmadd_ps(hybrid__halfs_avx2(_mm256_srli_epi32(heads, 16)), _mm256_cvtepi32_ps(s), t);
    return t;
}

/* p = fma(t, d, p) in the first count lanes. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256 hybrid__add_lanes_avx2(__m256 t, const float *d, __m256 p, int64_t count)
{
    __m256 sum = _mm256_fmadd_ps(t, _mm256_loadu_ps(d), p);
    if (count >= 8) return sum;
    return _mm256_blendv_ps(p, sum, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))));
}
HYBRID__INLINE HYBRID__TARGET_AVX2 float hybrid__halve_avx2(__m256 p)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

/* As in cpu_int_avx512.c: a row's last group reads on into the next rows; at the end of the rows it comes from a copy. */
#define HYBRID__GEMV32_AVX2(type, qs, qh, bytes, affine, shift)                                                                                        \
    HYBRID__TARGET_AVX2 static void hybrid__gemv_avx2_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y,                    \
                                                             int64_t r0, int64_t r1)                                                                   \
    {                                                                                                                                                  \
        const size_t stride = sizeof(hybrid__block_##type);                                                                                            \
        const char *row_end = (const char *)w + (size_t)r1 * row_bytes;                                                                                \
        int64_t blocks = k / 32, b, r;                                                                                                                 \
        char copy[8 * sizeof(hybrid__block_##type)];                                                                                                   \
        memset(copy, 0, sizeof copy);                                                                                                                  \
        for (r = r0; r < r1; r++) {                                                                                                                    \
            const char *row = (const char *)w + (size_t)r * row_bytes, *x = (const char *)act;                                                         \
            __m256 p = _mm256_setzero_ps();                                                                                                            \
            for (b = 0; b < blocks; b += 8, row += 8 * stride, x += HYBRID__GROUP8) {                                                                  \
                const char *from = row;                                                                                                                \
                if ((size_t)(row_end - row) < 8 * stride) from = (const char *)memcpy(copy, row, (size_t)(blocks - b) * stride);                       \
                p = hybrid__add_lanes_avx2(hybrid__dot8_avx2(from, stride, qs, qh, bytes, affine, shift, x),                                           \
                                           (const float *)(const void *)(x + HYBRID__GROUP8_D), p, blocks - b);                                        \
            }                                                                                                                                          \
            y[r - r0] = hybrid__halve_avx2(p);                                                                                                         \
        }                                                                                                                                              \
    }
HYBRID__GEMV32_AVX2(q4_0, 2, 0, false, false, 3)
HYBRID__GEMV32_AVX2(q4_1, 4, 0, false, true, 0)
HYBRID__GEMV32_AVX2(q5_0, 6, 2, false, false, 4)
HYBRID__GEMV32_AVX2(q5_1, 8, 4, false, true, 0)
HYBRID__GEMV32_AVX2(q8_0, 2, 0, true, false, 0)
#undef HYBRID__GEMV32_AVX2

/* ---- super-blocks: weights 32g..32g+31 as unsigned bytes, 16 scales, 16 mins ---- */

HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__load_avx2(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
/* v >> by (left when negative), the bits of mask in every byte */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__field_avx2(__m256i v, int by, int mask)
{
    if (by > 0) v = _mm256_srl_epi16(v, _mm_cvtsi32_si128(by));
    if (by < 0) v = _mm256_sll_epi16(v, _mm_cvtsi32_si128(-by));
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__group_avx2_q2_K(const void *block, int g)
{
    return hybrid__field_avx2(hybrid__load_avx2(((const hybrid__block_q2_K *)block)->qs + g / 4 * 32), g % 4 * 2, 3);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__group_avx2_q3_K(const void *block, int g)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)block;
    return _mm256_or_si256(hybrid__field_avx2(hybrid__load_avx2(b->qs + g / 4 * 32), g % 4 * 2, 3), hybrid__field_avx2(hybrid__load_avx2(b->hmask), g - 2, 4));
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__group_avx2_q4_K(const void *block, int g)
{
    return hybrid__field_avx2(hybrid__load_avx2(((const hybrid__block_q4_K *)block)->qs + g / 2 * 32), g % 2 * 4, 15);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__group_avx2_q5_K(const void *block, int g)
{
    const hybrid__block_q5_K *b = (const hybrid__block_q5_K *)block;
    return _mm256_or_si256(hybrid__field_avx2(hybrid__load_avx2(b->qs + g / 2 * 32), g % 2 * 4, 15), hybrid__field_avx2(hybrid__load_avx2(b->qh), g - 4, 16));
}
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__group_avx2_q6_K(const void *block, int g)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)block;
    return _mm256_or_si256(hybrid__field_avx2(hybrid__load_avx2(b->ql + g / 4 * 64 + g % 2 * 32), g % 4 / 2 * 4, 15),
                           hybrid__field_avx2(hybrid__load_avx2(b->qh + g / 4 * 32), g % 4 * 2 - 4, 0x30));
}

/* Scales (signed) and mins of 16 sub-blocks of 16; returns d | dmin << 16. */
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_q2_K(const void *block, __m128i *sc, __m128i *m)
{
    const hybrid__block_q2_K *b = (const hybrid__block_q2_K *)block;
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    *sc = _mm_and_si128(v, _mm_set1_epi8(15));
    *m = _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
    return hybrid__load_u32(&b->d);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_q3_K(const void *block, __m128i *sc, __m128i *m)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)block;
    uint64_t low, high;
    hybrid__scales_q3_words(b->scales, &low, &high);
    *m = *sc = _mm_sub_epi8(_mm_set_epi64x((int64_t)high, (int64_t)low), _mm_set1_epi8(32));
    return hybrid__load_u16(&b->d);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_k45(const uint8_t *head, __m128i *sc, __m128i *m)
{
    uint64_t s8, m8;
    hybrid__scales_k4_words(head + 4, &s8, &m8);
    *sc = _mm_cvtsi64_si128((int64_t)s8);
    *m = _mm_cvtsi64_si128((int64_t)m8);
    *sc = _mm_unpacklo_epi8(*sc, *sc);
    *m = _mm_unpacklo_epi8(*m, *m);
    return hybrid__load_u32(head);
}
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_q4_K(const void *block, __m128i *sc, __m128i *m) { return hybrid__scales_avx2_k45((const uint8_t *)block, sc, m); }
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_q5_K(const void *block, __m128i *sc, __m128i *m) { return hybrid__scales_avx2_k45((const uint8_t *)block, sc, m); }
HYBRID__INLINE HYBRID__TARGET_AVX2 uint32_t hybrid__scales_avx2_q6_K(const void *block, __m128i *sc, __m128i *m)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)block;
    *m = *sc = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    return hybrid__load_u16(&b->d);
}
/* Scale of weights 32g..32g+15 in the words of the low, 32g+16.. of the high lane. sc: the 16 scales, in both lanes. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__scale_words_avx2(__m256i sc, int g)
{
    const __m256i first = _mm256_set_epi64x(0x0180018001800180, 0x0180018001800180, 0x0080008000800080, 0x0080008000800080);
    return _mm256_srai_epi16(_mm256_shuffle_epi8(sc, _mm256_add_epi8(first, _mm256_set1_epi16((short)(g * 0x200)))), 8);
}

/* Vectors 0..7 of 8 partial sums each: the 8 sums. */
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__sum_sets_avx2(const __m256i *v)
{
    __m256i a = hybrid__sum_lanes_avx2(v[0], v[1], v[2], v[3]), b = hybrid__sum_lanes_avx2(v[4], v[5], v[6], v[7]);
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* affine: mins; else q is unsigned by 1 << shift too much. */
#define HYBRID__GEMV256_AVX2(type, affine, shift)                                                                                                      \
    HYBRID__TARGET_AVX2 static void hybrid__gemv_avx2_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y,                    \
                                                             int64_t r0, int64_t r1)                                                                   \
    {                                                                                                                                                  \
        const char *s16 = (const char *)act + hybrid__act256_s(k);                                                                                     \
        const float *d = (const float *)(const void *)((const char *)act + hybrid__act256_d(k));                                                       \
        __m256i isum[8], msum[8];                                                                                                                      \
        uint32_t heads[8];                                                                                                                             \
        int64_t blocks = k / 256, b, r;                                                                                                                \
        int j;                                                                                                                                         \
        for (j = 0; j < 8; j++) { isum[j] = msum[j] = _mm256_setzero_si256(); heads[j] = 0; }                                                          \
        for (r = r0; r < r1; r++) {                                                                                                                    \
            const char *row = (const char *)w + (size_t)r * row_bytes;                                                                                 \
            __m256 p = _mm256_setzero_ps(), t;                                                                                                         \
            for (b = 0; b < blocks; b += 8) {                                                                                                          \
                int count = (int)HYBRID__MIN(blocks - b, 8);                                                                                           \
                __m256i i8, m8, h8;                                                                                                                    \
                for (j = 0; j < count; j++, row += sizeof(hybrid__block_##type)) {                                                                     \
                    const char *x = (const char *)act + (b + j) * 256;                                                                                 \
                    __m128i sc, m;                                                                                                                     \
                    __m256i sc2, sum = _mm256_setzero_si256();                                                                                         \
                    heads[j] = hybrid__scales_avx2_##type(row, &sc, &m);                                                                               \
                    sc2 = _mm256_broadcastsi128_si256(sc);                                                                                             \
                    HYBRID__DOT32_AVX2(type, 0) HYBRID__DOT32_AVX2(type, 1) HYBRID__DOT32_AVX2(type, 2) HYBRID__DOT32_AVX2(type, 3)                    \
                    HYBRID__DOT32_AVX2(type, 4) HYBRID__DOT32_AVX2(type, 5) HYBRID__DOT32_AVX2(type, 6) HYBRID__DOT32_AVX2(type, 7)                    \
                    isum[j] = sum;                                                                                                                     \
                    msum[j] = _mm256_madd_epi16(_mm256_cvtepi8_epi16(m), hybrid__load_avx2(s16 + (b + j) * 32));                                       \
                }                                                                                                                                      \
                i8 = hybrid__sum_sets_avx2(isum);                                                                                                      \
                m8 = hybrid__sum_sets_avx2(msum);                                                                                                      \
                h8 = hybrid__load_avx2(heads);                                                                                                         \
                if (!affine) i8 = _mm256_sub_epi32(i8, _mm256_slli_epi32(m8, shift));                                                                  \
                t = _mm256_mul_ps(_mm256_cvtepi32_ps(i8), hybrid__halfs_avx2(h8));                                                                     \
                if (affine) t = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m8), hybrid__halfs_avx2(_mm256_srli_epi32(h8, 16)), t);                            \
                p = hybrid__add_lanes_avx2(t, d + b, p, count);                                                                                        \
            }                                                                                                                                          \
            y[r - r0] = hybrid__halve_avx2(p);                                                                                                         \
        }                                                                                                                                              \
    }
#define HYBRID__DOT32_AVX2(type, g) \
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(hybrid__group_avx2_##type(row, g), hybrid__load_avx2(x + 32 * g)), hybrid__scale_words_avx2(sc2, g)));
HYBRID__GEMV256_AVX2(q2_K, true, 0)
HYBRID__GEMV256_AVX2(q3_K, false, 2)
HYBRID__GEMV256_AVX2(q4_K, true, 0)
HYBRID__GEMV256_AVX2(q5_K, true, 0)
HYBRID__GEMV256_AVX2(q6_K, false, 5)
#undef HYBRID__DOT32_AVX2
#undef HYBRID__GEMV256_AVX2

/* ---- prefill: panels of 16 rows: for every pair of weights 16 rows x 2 int16 ----
 * Of a 32-weight block: 16 pairs, d[16], m[16] (floats). Of a super-block: 128 pairs, d[16], dmin[16], 8 pairs of mins (int16). */
enum {
    HYBRID__WIDE32_D = 1024, HYBRID__WIDE32 = 1152, HYBRID__WIDE256_D = 8192, HYBRID__WIDE256_M = 8320, HYBRID__WIDE256 = 8832
};

/* Dwords of 8 rows (rows i: 32 bytes at from + i * stride) to o[j] = dword j of the 8 rows, 64 bytes apart. */
HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__transpose_avx2(const char *from, size_t stride, char *o)
{
    __m256i a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7;
#define HYBRID__TWO(i) _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128((const __m128i *)(const void *)(from + (i) % 4 * stride + (i) / 4 * 16))), \
                                               _mm_load_si128((const __m128i *)(const void *)(from + ((i) % 4 + 4) * stride + (i) / 4 * 16)), 1)
    a0 = HYBRID__TWO(0); a1 = HYBRID__TWO(1); a2 = HYBRID__TWO(2); a3 = HYBRID__TWO(3);
    a4 = HYBRID__TWO(4); a5 = HYBRID__TWO(5); a6 = HYBRID__TWO(6); a7 = HYBRID__TWO(7);
#undef HYBRID__TWO
    b0 = _mm256_unpacklo_epi32(a0, a1); b1 = _mm256_unpackhi_epi32(a0, a1); b2 = _mm256_unpacklo_epi32(a2, a3); b3 = _mm256_unpackhi_epi32(a2, a3);
    b4 = _mm256_unpacklo_epi32(a4, a5); b5 = _mm256_unpackhi_epi32(a4, a5); b6 = _mm256_unpacklo_epi32(a6, a7); b7 = _mm256_unpackhi_epi32(a6, a7);
    _mm256_store_si256((__m256i *)(void *)o, _mm256_unpacklo_epi64(b0, b2));
    _mm256_store_si256((__m256i *)(void *)(o + 64), _mm256_unpackhi_epi64(b0, b2));
    _mm256_store_si256((__m256i *)(void *)(o + 128), _mm256_unpacklo_epi64(b1, b3));
    _mm256_store_si256((__m256i *)(void *)(o + 192), _mm256_unpackhi_epi64(b1, b3));
    _mm256_store_si256((__m256i *)(void *)(o + 256), _mm256_unpacklo_epi64(b4, b6));
    _mm256_store_si256((__m256i *)(void *)(o + 320), _mm256_unpackhi_epi64(b4, b6));
    _mm256_store_si256((__m256i *)(void *)(o + 384), _mm256_unpacklo_epi64(b5, b7));
    _mm256_store_si256((__m256i *)(void *)(o + 448), _mm256_unpackhi_epi64(b5, b7));
}
/* 16 rows of n int16 (n / 16 times 32 bytes; stride bytes a row) to pairs. */
HYBRID__TARGET_AVX2 static void hybrid__pairs_avx2(const char *from, size_t stride, int n, char *o)
{
    int i;
    for (i = 0; i < n / 16; i++) {
        hybrid__transpose_avx2(from + i * 32, stride, o + i * 512);
        hybrid__transpose_avx2(from + i * 32 + 8 * stride, stride, o + i * 512 + 32);
    }
}
HYBRID__TARGET_AVX2 static void hybrid__heads_avx2(const uint32_t *heads, char *d)
{
    int i;
    for (i = 0; i < 2; i++) {
        __m256i h = hybrid__load_avx2(heads + 8 * i);
        _mm256_store_ps((float *)(void *)(d + 32 * i), hybrid__halfs_avx2(h));
        _mm256_store_ps((float *)(void *)(d + 64 + 32 * i), hybrid__halfs_avx2(_mm256_srli_epi32(h, 16)));
    }
}

HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__wide32_avx2(const char *const *rows, size_t qs, size_t qh, bool bytes, int offset, char *panel)
{
    HYBRID__ALIGN64 char words[16][64];
    uint32_t heads[16];
    int i, half;
    for (i = 0; i < 16; i++) {
        heads[i] = hybrid__load_u32(rows[i]);
        if (bytes) {
            for (half = 0; half < 2; half++)
                _mm256_store_si256((__m256i *)(void *)(words[i] + 32 * half), _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(rows[i] + qs + 16 * half))));
        } else {
            __m128i raw = _mm_loadu_si128((const __m128i *)(const void *)(rows[i] + qs)), low4 = _mm_set1_epi8(15);
            __m256i q = _mm256_set_m128i(_mm_and_si128(_mm_srli_epi16(raw, 4), low4), _mm_and_si128(raw, low4));
            if (qh) q = _mm256_or_si256(q, hybrid__bits_avx2(rows[i] + qh, rows[i] + qh + 2));
            q = _mm256_sub_epi8(q, _mm256_set1_epi8((char)offset));
            _mm256_store_si256((__m256i *)(void *)words[i], _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q)));
            _mm256_store_si256((__m256i *)(void *)(words[i] + 32), _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q, 1)));
        }
    }
    hybrid__pairs_avx2(words[0], 64, 32, panel);
    hybrid__heads_avx2(heads, panel + HYBRID__WIDE32_D);
}
#define HYBRID__WIDE32_TYPE(type, qs, qh, bytes, offset) \
    HYBRID__TARGET_AVX2 static void hybrid__wide_##type(const char *const *rows, char *panel) { hybrid__wide32_avx2(rows, qs, qh, bytes, offset, panel); }
HYBRID__WIDE32_TYPE(q4_0, 2, 0, false, 8)
HYBRID__WIDE32_TYPE(q4_1, 4, 0, false, 0)
HYBRID__WIDE32_TYPE(q5_0, 6, 2, false, 16)
HYBRID__WIDE32_TYPE(q5_1, 8, 4, false, 0)
HYBRID__WIDE32_TYPE(q8_0, 2, 0, true, 0)
#undef HYBRID__WIDE32_TYPE

#define HYBRID__WIDE256_TYPE(type, offset)                                                                                                \
    HYBRID__TARGET_AVX2 static void hybrid__wide_##type(const char *const *rows, char *panel)                                             \
    {                                                                                                                                     \
        HYBRID__ALIGN64 char words[16][512 + 32], mins[16][32];                                                                           \
        uint32_t heads[16];                                                                                                               \
        int i, g;                                                                                                                         \
        for (i = 0; i < 16; i++) {                                                                                                        \
            __m128i sc, m;                                                                                                                \
            __m256i sc2, off = _mm256_set1_epi16(offset), q, s;                                                                           \
            heads[i] = hybrid__scales_avx2_##type(rows[i], &sc, &m);                                                                      \
            sc2 = _mm256_broadcastsi128_si256(sc);                                                                                        \
            _mm256_store_si256((__m256i *)(void *)mins[i], _mm256_cvtepi8_epi16(m));                                                      \
            for (g = 0; g < 8; g++) {                                                                                                     \
                q = hybrid__group_avx2_##type(rows[i], g);                                                                                \
                s = hybrid__scale_words_avx2(sc2, g);                                                                                     \
                _mm256_store_si256((__m256i *)(void *)(words[i] + g * 64),                                                                \
                    _mm256_mullo_epi16(_mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(q)), off), _mm256_permute2x128_si256(s, s, 0x00))); \
                _mm256_store_si256((__m256i *)(void *)(words[i] + g * 64 + 32),                                                           \
                    _mm256_mullo_epi16(_mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(q, 1)), off), _mm256_permute2x128_si256(s, s, 0x11))); \
            }                                                                                                                             \
        }                                                                                                                                 \
        hybrid__pairs_avx2(words[0], sizeof words[0], 256, panel);                                                                        \
        hybrid__pairs_avx2(mins[0], 32, 16, panel + HYBRID__WIDE256_M);                                                                   \
        hybrid__heads_avx2(heads, panel + HYBRID__WIDE256_D);                                                                             \
    }
HYBRID__WIDE256_TYPE(q2_K, 0)
HYBRID__WIDE256_TYPE(q3_K, 4)
HYBRID__WIDE256_TYPE(q4_K, 0)
HYBRID__WIDE256_TYPE(q5_K, 0)
HYBRID__WIDE256_TYPE(q6_K, 32)
#undef HYBRID__WIDE256_TYPE

/* ---- prefill: 16 rows of weights by 4 of activations ---- */

#define HYBRID__EACH4(X) X(0) X(1) X(2) X(3)
HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__splat_avx2(const char *p) { return _mm256_set1_epi32((int)hybrid__load_u32(p)); }

/* s[2i], s[2i + 1]: sums of rows 0-7 and 8-15 with activation row i, over n pairs. */
HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__madd_tile_avx2(const char *panel, const char *x, size_t stride, int n, __m256i s[8])
{
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    const size_t stride3 = 3 * stride;
    int q;
    for (q = 0; q < n; q++) {
        __m256i w0 = _mm256_load_si256((const __m256i *)(const void *)(panel + q * 64)), w1 = _mm256_load_si256((const __m256i *)(const void *)(panel + q * 64 + 32)), v;
        v = hybrid__splat_avx2(x + q * 4);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(w0, v)); s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(w1, v));
        v = hybrid__splat_avx2(x + stride + q * 4);
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(w0, v)); s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(w1, v));
        v = hybrid__splat_avx2(x + 2 * stride + q * 4);
        s4 = _mm256_add_epi32(s4, _mm256_madd_epi16(w0, v)); s5 = _mm256_add_epi32(s5, _mm256_madd_epi16(w1, v));
        v = hybrid__splat_avx2(x + stride3 + q * 4);
        s6 = _mm256_add_epi32(s6, _mm256_madd_epi16(w0, v)); s7 = _mm256_add_epi32(s7, _mm256_madd_epi16(w1, v));
    }
    s[0] = s0; s[1] = s1; s[2] = s2; s[3] = s3; s[4] = s4; s[5] = s5; s[6] = s6; s[7] = s7;
}
/* A finished run joins those before it, as hybrid__merge_avx512. */
HYBRID__TARGET_AVX2 static void hybrid__merge_avx2(const float *v, int run, float (*waiting)[64], float *out)
{
    int i;
    for (i = 0; i < 64; i += 8) {
        __m256 a = _mm256_load_ps(v + i);
        if (run & 1) a = _mm256_add_ps(_mm256_load_ps(waiting[0] + i), a);
        if ((run & 3) == 3) a = _mm256_add_ps(_mm256_load_ps(waiting[1] + i), a);
        if (run == 7) _mm256_store_ps(out + i, _mm256_add_ps(_mm256_load_ps(waiting[2] + i), a));
        else _mm256_store_ps(waiting[(run & 3) == 3 ? 2 : run & 1] + i, a);
    }
}

HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__int_tile_avx2(const hybrid__tile *tile, int block, bool affine)
{
    const size_t stride = tile->act_bytes, d_at = (size_t)tile->k * 2, s_at = hybrid__wide_s(tile->k);
    const char *panel = tile->panel, *x = tile->acts;
    HYBRID__ALIGN64 float waiting[3][64], v[64];
    int64_t run[9], at;
    int j, i, h;
    hybrid__runs(tile->k / block, run);
    for (j = 0; j < 8; j++) {
        memset(v, 0, sizeof v);
        for (at = run[j]; at < run[j + 1]; at++, x += 2 * block, panel += block == 32 ? HYBRID__WIDE32 : HYBRID__WIDE256) {
            const char *scales = panel + (block == 32 ? HYBRID__WIDE32_D : HYBRID__WIDE256_D);
            __m256i s[8], m[8];
            hybrid__madd_tile_avx2(panel, x, stride, block / 2, s);
            if (affine && block == 256) hybrid__madd_tile_avx2(panel + HYBRID__WIDE256_M, tile->acts + s_at + at * 32, stride, 8, m);
            for (i = 0; i < 4; i++) {
                const char *row = tile->acts + (size_t)i * stride;
                __m256 d = _mm256_set1_ps(hybrid__load_f32(row + d_at + at * 4));
                for (h = 0; h < 2; h++) {
                    __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(s[2 * i + h]), _mm256_load_ps((const float *)(const void *)(scales + 32 * h)));
                    __m256 dm = _mm256_load_ps((const float *)(const void *)(scales + 64 + 32 * h));
                    if (affine && block == 256) t = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m[2 * i + h]), dm, t);
                    if (affine && block == 32) t = _mm256_fmadd_ps(dm, _mm256_set1_ps(hybrid__load_f32(row + s_at + at * 4)), t);
                    _mm256_store_ps(v + 16 * i + 8 * h, _mm256_fmadd_ps(t, d, _mm256_load_ps(v + 16 * i + 8 * h)));
                }
            }
        }
        hybrid__merge_avx2(v, j, waiting, tile->out);
    }
}
HYBRID__TARGET_AVX2 static void hybrid__tile32_avx2_plain(const hybrid__tile *tile) { hybrid__int_tile_avx2(tile, 32, false); }
HYBRID__TARGET_AVX2 static void hybrid__tile32_avx2_affine(const hybrid__tile *tile) { hybrid__int_tile_avx2(tile, 32, true); }
HYBRID__TARGET_AVX2 static void hybrid__tile256_avx2_plain(const hybrid__tile *tile) { hybrid__int_tile_avx2(tile, 256, false); }
HYBRID__TARGET_AVX2 static void hybrid__tile256_avx2_affine(const hybrid__tile *tile) { hybrid__int_tile_avx2(tile, 256, true); }

#define HYBRID__KERNEL_AVX2(type, family, tile)                                                                                                    \
    static const hybrid__int_gemm hybrid__gemm_plan_avx2_##type = {                                                                                \
        hybrid__wide_##type, tile, NULL, NULL, 4, family, HYBRID__WIDE##family, sizeof(hybrid__block_##type), hybrid__wide_bytes                   \
    };                                                                                                                                             \
    HYBRID__INT_GEMM_TYPE(avx2, type)                                                                                                              \
    static const hybrid__matmul_kernel hybrid__kernel_avx2_##type = {                                                                              \
        &hybrid__one##family##_avx2, &hybrid__many##family##_avx2, 4, 16, hybrid__gemv_avx2_##type, hybrid__gemm_scratch_avx2_##type, hybrid__gemm_avx2_##type \
    };
HYBRID__KERNEL_AVX2(q4_0, 32, hybrid__tile32_avx2_plain)
HYBRID__KERNEL_AVX2(q4_1, 32, hybrid__tile32_avx2_affine)
HYBRID__KERNEL_AVX2(q5_0, 32, hybrid__tile32_avx2_plain)
HYBRID__KERNEL_AVX2(q5_1, 32, hybrid__tile32_avx2_affine)
HYBRID__KERNEL_AVX2(q8_0, 32, hybrid__tile32_avx2_plain)
HYBRID__KERNEL_AVX2(q2_K, 256, hybrid__tile256_avx2_affine)
HYBRID__KERNEL_AVX2(q3_K, 256, hybrid__tile256_avx2_plain)
HYBRID__KERNEL_AVX2(q4_K, 256, hybrid__tile256_avx2_affine)
HYBRID__KERNEL_AVX2(q5_K, 256, hybrid__tile256_avx2_affine)
HYBRID__KERNEL_AVX2(q6_K, 256, hybrid__tile256_avx2_plain)
#undef HYBRID__KERNEL_AVX2

#endif
