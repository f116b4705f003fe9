/* compute/cpu_int_avx2: integer blocks with AVX2, FMA and F16C: activations, and decode straight from the file.
 *
 * Unsigned weights times signed activations (vpmaddubsw: pairs fit 16 bits up to 6-bit weights). Prefill: cpu_int_avx2_gemm.c. */
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

#endif
