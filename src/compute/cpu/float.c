/* compute/cpu/float: matrix products of F32, F16 and BF16 weights in scalar C: 32 partial sums over k % 32, halved
 * (NUMERICS.md). */
#ifndef HYB_COMPUTE_CPU_FLOAT_C
#define HYB_COMPUTE_CPU_FLOAT_C
#include "generic.c"
#include "matmul_kernel.c"

static size_t hyb_act_f32_bytes(int64_t k) { return hyb_align((size_t)k, 32) * sizeof(float); }
static void hyb_act_f32_prepare(const float *x, int64_t k, void *act)
{
    memcpy(act, x, (size_t)k * sizeof *x);
    memset((float *)act + k, 0, hyb_act_f32_bytes(k) - (size_t)k * sizeof *x);
}
static const hyb_act_format hyb_act_f32 = { hyb_act_f32_bytes, hyb_act_f32_prepare }; /* the row, zeros up to 32 */

/* A row that is not a multiple of 32 ends in zeros: fma(0, 0, p) makes a -0 that an underflow left a 0, as the vector
 * kernels do. */
HYB_INLINE float hyb_dot_generic(hybrid_type type, const char *w, const float *x, int64_t k)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < k; i++) p[i % 32] = hyb_fmaf(hyb_weight_generic(type, w, i), x[i], p[i % 32]);
    for (; i % 32; i++) p[i % 32] = p[i % 32] + 0.0f;
    return hyb_halve(p, 32);
}

static size_t hyb_no_scratch(int64_t k, int n)
{
    HYB_UNUSED(k);
    HYB_UNUSED(n);
    return 0;
}

#define HYB_FLOAT_GENERIC(suffix, type) \
    static void hyb_gemv_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, \
                                            int64_t r0, int64_t r1) \
    { \
        int64_t r; \
        for (r = r0; r < r1; r++) \
            y[r - r0] = hyb_dot_generic(type, (const char *)w + (size_t)r * row_bytes, (const float *)act, k); \
    } \
    static void hyb_gemm_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, \
                                            float *y, int64_t y_stride, int64_t r0, int64_t r1, void *scratch) \
    { \
        int i; \
        HYB_UNUSED(scratch); \
        for (i = 0; i < n; i++) \
            hyb_gemv_##suffix##_generic(w, row_bytes, k, (const char *)acts + (size_t)i * hyb_act_f32_bytes(k), \
                                        y + i * y_stride, r0, r1); \
    } \
    static const hyb_matmul_kernel hyb_matmul_##suffix##_generic = { \
        &hyb_act_f32, &hyb_act_f32, 1, 1, 1, hyb_gemv_##suffix##_generic, hyb_no_scratch, \
        hyb_gemm_##suffix##_generic, NULL \
    };
HYB_FLOAT_GENERIC(f32, HYBRID_TYPE_F32)
HYB_FLOAT_GENERIC(f16, HYBRID_TYPE_F16)
HYB_FLOAT_GENERIC(bf16, HYBRID_TYPE_BF16)
#undef HYB_FLOAT_GENERIC

/* ---- what cpu/float.inc needs once ------------------------------------------------------------------------------- */

enum { HYB_FLOAT_FEW = 3 }; /* rows of x that share a row of weights */

/* x[32 i + l] goes to act[hyb_residue(l) * run + i], run = k / 32 rounded up: residues in the order of halving, 0 16
 * 8 24 4 .. */
HYB_INLINE int hyb_residue(int l) { return (l & 1) << 4 | (l & 2) << 2 | (l & 4) | (l & 8) >> 2 | (l & 16) >> 4; }

/* The 64 bytes more keep rows from falling on the same lines of a cache. */
static size_t hyb_act_split_bytes(int64_t k) { return hyb_align((size_t)k, 32) * sizeof(float) + 64; }

/* A chunk of residues (their panel stays in a near cache while all columns pass), and where its sums wait for the
 * next. */
typedef struct hyb_gemm_chunk {
    int64_t run;
    int residues, index, last; /* residues: a power of 2. Chunk index of 0 .. last */
    float *stack;       /* [5 levels][column of a tile][R]: sums of residues of this chunk that wait for others */
    float *waiting;     /* [level][column of all][R]: sums of chunks */
    int64_t level_size; /* of waiting */
} hyb_gemm_chunk;
#endif
