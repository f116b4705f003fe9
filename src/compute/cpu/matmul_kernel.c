/* compute/cpu/matmul_kernel: what a matrix product needs of one weight type on one ISA: two ways to prepare
 * activations, and two kernels.
 *
 * y (n, rows) = x (n, k) . w (rows, k)^T. Weights stay in their file format; an activation row is prepared once (for
 * integer types: quantized, see NUMERICS.md) and read by all matrices whose kernels name the same format. gemv and gemm
 * give the same bits, for any n and any split of the rows, and so do all ISAs. A kernel reads no byte outside rows
 * r0..r1 of w and writes no y outside them. */
#ifndef HYB_COMPUTE_CPU_MATMUL_KERNEL_C
#define HYB_COMPUTE_CPU_MATMUL_KERNEL_C
#include "../../core/macros.h"

/* How an activation row lies in memory. Two kernels share prepared rows when they point at the same format. */
typedef struct hyb_act_format {
    size_t (*bytes)(int64_t k); /* of one row: a multiple of 64; rows are aligned to 64 */
    void (*prepare)(const float *x, int64_t k, void *act);
} hyb_act_format;

typedef struct hyb_matmul_kernel {
    const hyb_act_format *one;  /* what gemv reads */
    const hyb_act_format *many; /* what gemm reads: n rows, many->bytes(k) apart */
    int gemv_up_to;             /* up to this n, gemv for each row of x beats gemm */
    int few_up_to;              /* up to this n, few and gemv do (without few: gemv_up_to) */
    int row_step;               /* gemm likes r0, and r1 where rows go on, to be multiples of this (never required) */

    /* y[r - r0] for r0 <= r < r1 and one row of x. k is a multiple of the type's block. */
    void (*gemv)(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1);

    /* y[i * y_stride + r - r0] for i < n, r0 <= r < r1. scratch: scratch_bytes(k, n), aligned to 64, one for each
     * lane. */
    size_t (*scratch_bytes)(int64_t k, int n);
    void (*gemm)(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
                 int64_t r0, int64_t r1, void *scratch);

    /* gemv for n rows of x, 2 to HYB_MATMUL_FEW, one->bytes(k) apart, to y[i * y_stride + r - r0]: weights are read and
     * unpacked once. NULL: gemv for each. */
    void (*few)(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
                int64_t r0, int64_t r1);
} hyb_matmul_kernel;
enum { HYB_MATMUL_FEW = 8 };
#endif
