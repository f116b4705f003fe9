/* compute/ops/norms: embeddings and norms. */
#ifndef HYB_COMPUTE_OPS_NORMS_C
#define HYB_COMPUTE_OPS_NORMS_C
#include "batch.c"

/* out (n, n_embd) = table[index] * scale (+ add), for each id, position or wanted row of the batch. */
typedef struct hyb_op_embed {
    const hyb_tensor *table; /* (n_embd, n_vocab), any type; every index below n_vocab */
    hyb_index index;
    float scale;      /* 1 for none */
    const float *add; /* (n, n_embd), or NULL */
    float *out;       /* may be add */
} hyb_op_embed;
HYB_INLINE double hyb_bytes_embed(const hyb_op_embed *op, const hyb_batch *batch)
{
    const double n = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n;
    return n * ((double)op->table->nb[1] + 4.0 * (double)op->table->ne[0] * (op->add ? 2 : 1));
}

/* RMS:    out = x / sqrt(mean(x^2) + eps) * w
 * Layer:  out = (x - mean) / sqrt(var + eps) * w + b     (var is biased)
 * n_rows rows of n_group groups of n values; groups are n apart, and each is normed alone. w, b (n) may be NULL: 1 and
 * 0. */
typedef enum hyb_norm_kind { HYB_NORM_RMS, HYB_NORM_LAYER } hyb_norm_kind;
typedef struct hyb_op_norm {
    hyb_norm_kind kind;
    const float *x;
    int64_t x_stride;
    const float *w, *b;
    int64_t n_rows, n_group, n;
    float eps;
    float *out;
    int64_t out_stride; /* may be x */
} hyb_op_norm;
HYB_INLINE double hyb_bytes_norm(const hyb_op_norm *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * (double)op->n_rows * (double)op->n_group * (double)op->n;
}

#ifndef HYBRID_NO_TRAIN
/* dtable (n_embd, vocabulary) [index] += scale * dy (n, n_embd), row by row in their order, for the ids or positions of
 * the batch, or its wanted rows: dy (n_out, n_embd) then. */
typedef struct hyb_op_embed_back {
    hyb_index index;
    float scale;
    const float *dy;
    int64_t n_embd;
    float *dtable;
} hyb_op_embed_back;
HYB_INLINE double hyb_bytes_embed_back(const hyb_op_embed_back *op, const hyb_batch *batch)
{
    return 12.0 * (op->index == HYB_INDEX_OUT ? batch->n_out : batch->n) * (double)op->n_embd;
}

/* Of norm, with x^ = (x - mean) / sqrt(var + eps), RMS: mean = 0, and g = dy * w:
 *
 *   dx = add + (g - mean(g) - x^ mean(g x^)) / sqrt(var + eps)      RMS: without mean(g)
 *   dw += the sum of dy x^,  db += the sum of dy, over rows and groups
 *
 * (Ba et al. 2016; Zhang and Sennrich 2019.) add may be NULL: 0. dw and db may be NULL. */
typedef struct hyb_op_norm_back {
    hyb_norm_kind kind;
    const float *x, *dy;
    int64_t x_stride, dy_stride;
    const float *w; /* or NULL: 1 */
    int64_t n_rows, n_group, n;
    float eps;
    const float *add;
    float *dx;         /* may be add */
    int64_t dx_stride; /* of add, too */
    float *dw, *db;
    float *stats; /* (n_rows * n_group, 2) scratch: the mean of each group, and 1 / sqrt(var + eps) */
} hyb_op_norm_back;
HYB_INLINE double hyb_bytes_norm_back(const hyb_op_norm_back *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (op->add ? 6 : 5) * (double)op->n_rows * (double)op->n_group * (double)op->n;
}
#endif
#endif
