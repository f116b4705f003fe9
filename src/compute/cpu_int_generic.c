/* compute/cpu_int_generic: products with integer blocks in scalar C. This states the order of every sum (NUMERICS.md); every other kernel
 * must give the same bits. */

typedef void (*hybrid__ints32_fn)(const void *block, hybrid__ints32 *o);
typedef void (*hybrid__ints256_fn)(const void *block, hybrid__ints256 *o);

HYBRID__INLINE float hybrid__halve8(const float *p) { return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7])); }

/* One row of w by n rows of x: each block is unpacked once. sums: n * 8 floats. affine: the type has mins. */
static void hybrid__generic_row32(hybrid__ints32_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k, const void *acts, int n,
                                  float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hybrid__act32_bytes(k);
    hybrid__ints32 block;
    int64_t b;
    int i, j, isum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 32; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 32;
            float d = hybrid__load_f32(act + hybrid__act32_d(k) + b * 4), s = hybrid__load_f32(act + hybrid__act32_s(k) + b * 4);
            float *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 32; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) t = hybrid__fmaf(block.m, s, t);
            *p = hybrid__fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hybrid__halve8(sums + i * 8);
}

static void hybrid__generic_row256(hybrid__ints256_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k, const void *acts, int n,
                                   float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hybrid__act256_bytes(k);
    hybrid__ints256 block;
    int64_t b;
    int i, j, isum, msum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 256; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 256;
            const int16_t *s = (const int16_t *)(const void *)(act + hybrid__act256_s(k)) + b * 16;
            float d = hybrid__load_f32(act + hybrid__act256_d(k) + b * 4), *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 256; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) {
                for (msum = 0, j = 0; j < 16; j++) msum += block.m[j] * s[j];
                t = hybrid__fmaf(-(float)msum, block.dmin, t);
            }
            *p = hybrid__fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hybrid__halve8(sums + i * 8);
}

static size_t hybrid__generic_scratch(int64_t k, int n) { HYBRID__UNUSED(k); return (size_t)n * 8 * sizeof(float); }

/* A type's two kernels and its entry. family: 32 or 256. */
#define HYBRID__GENERIC_TYPE(type, family, affine)                                                                                             \
    static void hybrid__gemm_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,   \
                                            int64_t r0, int64_t r1, void *scratch)                                                             \
    {                                                                                                                                          \
        int64_t r;                                                                                                                             \
        for (r = r0; r < r1; r++)                                                                                                              \
            hybrid__generic_row##family(hybrid__ints_##type, sizeof(hybrid__block_##type), affine, (const char *)w + (size_t)r * row_bytes,    \
                                        k, acts, n, y + (r - r0), y_stride, (float *)scratch);                                                 \
    }                                                                                                                                          \
    static void hybrid__gemv_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1)     \
    {                                                                                                                                          \
        float sums[8];                                                                                                                        \
        hybrid__gemm_generic_##type(w, row_bytes, k, act, 1, y, 0, r0, r1, sums);                                                              \
    }                                                                                                                                          \
    static const hybrid__matmul_kernel hybrid__kernel_generic_##type = {                                                                       \
        &hybrid__act##family##_generic, &hybrid__act##family##_generic, 1, 1, hybrid__gemv_generic_##type, hybrid__generic_scratch,            \
        hybrid__gemm_generic_##type, NULL                                                                                                      \
    };
HYBRID__GENERIC_TYPE(q4_0, 32, false)
HYBRID__GENERIC_TYPE(q4_1, 32, true)
HYBRID__GENERIC_TYPE(q5_0, 32, false)
HYBRID__GENERIC_TYPE(q5_1, 32, true)
HYBRID__GENERIC_TYPE(q8_0, 32, false)
HYBRID__GENERIC_TYPE(q2_K, 256, true)
HYBRID__GENERIC_TYPE(q3_K, 256, false)
HYBRID__GENERIC_TYPE(q4_K, 256, true)
HYBRID__GENERIC_TYPE(q5_K, 256, true)
HYBRID__GENERIC_TYPE(q6_K, 256, false)
#undef HYBRID__GENERIC_TYPE
