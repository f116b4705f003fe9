/* compute/cpu_int_avx2_gemm: prefill of integer blocks with AVX2, by panels of int16.
 *
 * int16 times int16, where a super-block's weight already holds the scale of its sub-block: exact, and one kernel for all types of a family. */
#if defined(HYBRID__X86)

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
