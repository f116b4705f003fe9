/* compute/cpu/int/generic: products with integer blocks in scalar C. This states the order of every sum (NUMERICS.md);
 * every other kernel must give the same bits. */
#ifndef HYB_COMPUTE_CPU_INT_GENERIC_C
#define HYB_COMPUTE_CPU_INT_GENERIC_C
#include "../../../core/fma.c"
#include "unpack.c"
#include "act.c"

typedef void (*hyb_ints32_fn)(const void *block, hyb_ints32 *o);
typedef void (*hyb_ints256_fn)(const void *block, hyb_ints256 *o);

HYB_INLINE float hyb_halve8(const float *p)
{
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

/* One row of w by n rows of x: each block is unpacked once. sums: n * 8 floats. affine: the type has mins. */
static void hyb_generic_row32(hyb_ints32_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k,
                              const void *acts, int n, float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hyb_act32_bytes(k);
    hyb_ints32 block;
    int64_t b;
    int i, j, isum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 32; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 32;
            float d = hyb_load_f32(act + hyb_act32_d(k) + b * 4), s = hyb_load_f32(act + hyb_act32_s(k) + b * 4);
            float *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 32; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) t = hyb_fmaf(block.m, s, t);
            *p = hyb_fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hyb_halve8(sums + i * 8);
}

static void hyb_generic_row256(hyb_ints256_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k,
                               const void *acts, int n, float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hyb_act256_bytes(k);
    hyb_ints256 block;
    int64_t b;
    int i, j, isum, msum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 256; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 256;
            const int16_t *s = (const int16_t *)(const void *)(act + hyb_act256_s(k)) + b * 16;
            float d = hyb_load_f32(act + hyb_act256_d(k) + b * 4), *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 256; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) {
                for (msum = 0, j = 0; j < 16; j++) msum += block.m[j] * s[j];
                t = hyb_fmaf(-(float)msum, block.dmin, t);
            }
            *p = hyb_fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hyb_halve8(sums + i * 8);
}

static size_t hyb_generic_scratch(int64_t k, int n)
{
    HYB_UNUSED(k);
    return (size_t)n * 8 * sizeof(float);
}

/* A type's two kernels and its entry. family: 32 or 256. */
#define HYB_GENERIC_TYPE(type, family, affine) \
    static void hyb_gemm_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, \
                                        int64_t y_stride, int64_t r0, int64_t r1, void *scratch) \
    { \
        int64_t r; \
        for (r = r0; r < r1; r++) \
            hyb_generic_row##family(hyb_ints_##type, sizeof(hyb_block_##type), affine, \
                                    (const char *)w + (size_t)r * row_bytes, k, acts, n, y + (r - r0), y_stride, \
                                    (float *)scratch); \
    } \
    static void hyb_gemv_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, \
                                        int64_t r0, int64_t r1) \
    { \
        float sums[8]; \
        hyb_gemm_generic_##type(w, row_bytes, k, act, 1, y, 0, r0, r1, sums); \
    } \
    static const hyb_matmul_kernel hyb_kernel_generic_##type = { \
        &hyb_act##family##_generic, &hyb_act##family##_generic, 1, 1, 1, hyb_gemv_generic_##type, hyb_generic_scratch, \
        hyb_gemm_generic_##type, NULL \
    };
HYB_GENERIC_TYPE(q4_0, 32, false)
HYB_GENERIC_TYPE(q4_1, 32, true)
HYB_GENERIC_TYPE(q5_0, 32, false)
HYB_GENERIC_TYPE(q5_1, 32, true)
HYB_GENERIC_TYPE(q8_0, 32, false)
HYB_GENERIC_TYPE(q2_K, 256, true)
HYB_GENERIC_TYPE(q3_K, 256, false)
HYB_GENERIC_TYPE(q4_K, 256, true)
HYB_GENERIC_TYPE(q5_K, 256, true)
HYB_GENERIC_TYPE(q6_K, 256, false)
#undef HYB_GENERIC_TYPE
#endif
