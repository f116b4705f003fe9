/* compute/ops/products: products with matrices, and what low-rank adapters add to them. */
#ifndef HYB_COMPUTE_OPS_PRODUCTS_C
#define HYB_COMPUTE_OPS_PRODUCTS_C
#include "batch.c"

/* The number format of products: their operands are rounded to `type` (F16 or BF16, to nearest even) before they are
 * multiplied; sums and everything else stay float32. F32: they are taken as they are. A back end may find matrices
 * that were rounded before, by the op round: those of the values from `of` on begin at `to`. */
typedef struct hyb_rounding {
    hybrid_type type;
    const float *of;
    const uint16_t *to; /* NULL: there are none */
} hyb_rounding;

/* Products have three forms: x W^T here, and two that training asks for: dy W (matmul_back_x), dy^T x (matmul_back_w).
 *
 * Up to 4 matrices that read the same rows: y_i (n, out_i) = x (n, k) . W_i (out_i, k)^T + bias_i + add_i. */
typedef struct hyb_matmul_low hyb_matmul_low;
typedef struct hyb_matmul_out {
    const hyb_tensor *w; /* ne[0] = k, ne[1] = out */
    const float *bias;   /* out values, or NULL */
    const float *add;
    int64_t add_stride; /* (n, out), or NULL */
    float *y;
    int64_t y_stride;          /* may be add, of the same stride */
    const hyb_matmul_low *low; /* NULL, or what an adapter adds to y: a host alone does it with the product */
} hyb_matmul_out;

/* y (n, out) += t B^T, t (n, rank) = factor * (x A^T). */
struct hyb_matmul_low {
    hyb_tensor a; /* ne = { k, rank } */
    hyb_tensor b; /* ne = { rank, out }, turned: panels of HYB_LOW_PANEL outputs [rank][HYB_LOW_PANEL], the last one
                     filled up with zeros, so that outputs are in the lanes of a vector. nb[1]: bytes of an output,
                     nb[2]: of all. Of F32, F16, or Q8_0: then a float for each panel comes first (hyb_low_scales), and
                     the panels hold signed bytes that are multiples of it */
    float factor;
    float *t;
};
enum { HYB_LOW_PANEL = 16 };

/* Bytes of the scales before the panels of such a B. */
HYB_INLINE size_t hyb_low_scales(hybrid_type type, int64_t out)
{
    const size_t panels = ((size_t)out + HYB_LOW_PANEL - 1) / HYB_LOW_PANEL;
    return type == HYBRID_TYPE_Q8_0 ? (panels * sizeof(float) + 63) / 64 * 64 : 0;
}

typedef struct hyb_op_matmul {
    hyb_rows rows; /* which rows of the batch x has */
    const float *x;
    int64_t x_stride;
    int n;
    bool in_chunks; /* of many rows that are trained on: the host may sum products with F32 in the order of gradients
                       (NUMERICS.md), which is faster; else a row's result does not depend on how many there are */
    hyb_rounding
        rounding;  /* of x and of matrices of F32, if all are F32 and in_chunks is set; else as if it were F32 */
    bool only_low; /* every y is there but for what `low` adds, which not every out has */
    int n_out;
    hyb_matmul_out out[4];
} hyb_op_matmul;
HYB_INLINE double hyb_bytes_low(const hyb_matmul_low *low)
{
    return (double)low->a.nb[1] * (double)low->a.ne[1] + (double)low->b.nb[2];
}
HYB_INLINE double hyb_bytes_matmul(const hyb_op_matmul *op, const hyb_batch *batch)
{
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {
        const hyb_tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * op->n * (double)w->ne[0];
        if (op->out[i].low) bytes += hyb_bytes_low(op->out[i].low);
        if (op->only_low) continue;
        bytes += (double)w->nb[1] * (double)w->ne[1] + 4.0 * op->n * (double)w->ne[1] * (op->out[i].add ? 2 : 1);
    }
    return bytes;
}

#ifndef HYBRID_NO_TRAIN
/* Gradient of what a product read: dx (n, k) = the sum over i of dy_i (n, out_i) . W_i (out_i, k), in the order of i.
 * W of any type. rounding: of W_i and dy_i where W_i is F32. */
typedef struct hyb_matmul_dy {
    const hyb_tensor *w;
    const float *dy;
    int64_t dy_stride;
} hyb_matmul_dy;
typedef struct hyb_op_matmul_back_x {
    hyb_rows rows;
    int n;
    int n_out;
    hyb_matmul_dy out[4];
    float *dx;
    int64_t dx_stride;
    hyb_rounding rounding;
} hyb_op_matmul_back_x;
HYB_INLINE double hyb_bytes_matmul_back_x(const hyb_op_matmul_back_x *op, const hyb_batch *batch)
{
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {
        const hyb_tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * op->n * (double)w->ne[0];
        bytes += (double)w->nb[1] * (double)w->ne[1] + 4.0 * op->n * (double)w->ne[1];
    }
    return bytes;
}

/* Gradients of the weights: dw_i (out_i, k) += dy_i^T (out_i, n) . x (n, k), dbias_i += the sum of the rows of dy_i.
 * rounding: of dy_i and x in that product, not in the sum. */
typedef struct hyb_matmul_dw {
    const float *dy;
    int64_t dy_stride, n; /* n: out_i */
    float *dw, *dbias;    /* or NULL */
} hyb_matmul_dw;
typedef struct hyb_op_matmul_back_w {
    hyb_rows rows;
    const float *x;
    int64_t x_stride, k;
    int n;
    int n_out;
    hyb_matmul_dw out[4];
    hyb_rounding rounding; /* its type alone is read */
} hyb_op_matmul_back_w;
HYB_INLINE double hyb_bytes_matmul_back_w(const hyb_op_matmul_back_w *op, const hyb_batch *batch)
{
    double bytes = 4.0 * op->n * (double)op->k;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++)
        bytes += 4.0 * (double)op->out[i].n * (op->n + (op->out[i].dw ? 2.0 * (double)op->k : 0));
    return bytes;
}
#endif
#endif
