/* compute/cpu_float: matrix products of F32, F16 and BF16 weights in scalar C: 32 partial sums over k % 32, halved (NUMERICS.md). */

static size_t hybrid__act_f32_bytes(int64_t k) { return hybrid__align((size_t)k, 32) * sizeof(float); }
static void hybrid__act_f32_prepare(const float *x, int64_t k, void *act)
{
    memcpy(act, x, (size_t)k * sizeof *x);
    memset((float *)act + k, 0, hybrid__act_f32_bytes(k) - (size_t)k * sizeof *x);
}
static const hybrid__act_format hybrid__act_f32 = { hybrid__act_f32_bytes, hybrid__act_f32_prepare };    /* the row, zeros up to 32 */

HYBRID__INLINE float hybrid__weight_generic(hybrid_type type, const char *row, int64_t i)
{
    if (type == HYBRID_TYPE_F32) return hybrid__load_f32(row + 4 * i);
    return type == HYBRID_TYPE_F16 ? hybrid__f16_to_f32(hybrid__load_u16(row + 2 * i)) : hybrid__bf16_to_f32(hybrid__load_u16(row + 2 * i));
}

/* A row that is no multiple of 32 ends in zeros: fma(0, 0, p) makes a -0 that an underflow left a 0, as the vector kernels do. */
HYBRID__INLINE float hybrid__dot_generic(hybrid_type type, const char *w, const float *x, int64_t k)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < k; i++) p[i % 32] = hybrid__fmaf(hybrid__weight_generic(type, w, i), x[i], p[i % 32]);
    for (; i % 32; i++) p[i % 32] = p[i % 32] + 0.0f;
    return hybrid__halve(p, 32);
}

static size_t hybrid__no_scratch(int64_t k, int n) { HYBRID__UNUSED(k); HYBRID__UNUSED(n); return 0; }

#define HYBRID__FLOAT_GENERIC(suffix, type)                                                                                                 \
    static void hybrid__gemv_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1) \
    {                                                                                                                                       \
        int64_t r;                                                                                                                          \
        for (r = r0; r < r1; r++) y[r - r0] = hybrid__dot_generic(type, (const char *)w + (size_t)r * row_bytes, (const float *)act, k);    \
    }                                                                                                                                       \
    static void hybrid__gemm_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y,              \
                                                int64_t y_stride, int64_t r0, int64_t r1, void *scratch)                                    \
    {                                                                                                                                       \
        int i;                                                                                                                              \
        HYBRID__UNUSED(scratch);                                                                                                            \
        for (i = 0; i < n; i++)                                                                                                             \
            hybrid__gemv_##suffix##_generic(w, row_bytes, k, (const char *)acts + (size_t)i * hybrid__act_f32_bytes(k), y + i * y_stride, r0, r1); \
    }                                                                                                                                       \
    static const hybrid__matmul_kernel hybrid__matmul_##suffix##_generic = { &hybrid__act_f32, &hybrid__act_f32, 1, 1,                      \
        hybrid__gemv_##suffix##_generic, hybrid__no_scratch, hybrid__gemm_##suffix##_generic, NULL };
HYBRID__FLOAT_GENERIC(f32, HYBRID_TYPE_F32)
HYBRID__FLOAT_GENERIC(f16, HYBRID_TYPE_F16)
HYBRID__FLOAT_GENERIC(bf16, HYBRID_TYPE_BF16)
#undef HYBRID__FLOAT_GENERIC

/* ---- what cpu_float.inc needs once ---------------------------------------------------------------------------------- */

/* x[32 i + l] goes to act[hybrid__residue(l) * run + i], run = k / 32 rounded up: residues in the order of halving, 0 16 8 24 4 .. */
HYBRID__INLINE int hybrid__residue(int l) { return (l & 1) << 4 | (l & 2) << 2 | (l & 4) | (l & 8) >> 2 | (l & 16) >> 4; }

/* The 64 bytes more keep rows from falling on the same lines of a cache. */
static size_t hybrid__act_split_bytes(int64_t k) { return hybrid__align((size_t)k, 32) * sizeof(float) + 64; }

/* A chunk of residues (their panel stays in a near cache while all columns pass), and where its sums wait for the next. */
typedef struct hybrid__gemm_chunk {
    int64_t run;
    int     residues, index, last;         /* residues: a power of 2. Chunk index of 0 .. last */
    float  *stack;                         /* [5 levels][column of a tile][R]: sums of residues of this chunk that wait for others */
    float  *waiting;                       /* [level][column of all][R]: sums of chunks */
    int64_t level_size;                    /* of waiting */
} hybrid__gemm_chunk;
