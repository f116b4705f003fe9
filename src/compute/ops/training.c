/* compute/ops/training: the loss, what is done to weights, by optimizers, and what the predictor (predict/) measures of
 * them and moves. */
#ifndef HYB_COMPUTE_OPS_TRAINING_C
#define HYB_COMPUTE_OPS_TRAINING_C
#include "batch.c"

#ifndef HYBRID_NO_TRAIN
/* ---- the loss ---- */

/* Of n_rows rows of logits, y = cap tanh(logits / cap), cap 0: y = logits:
 *
 *   loss = log(sum of e^y) - y[target]                     in nats; 0 where target < 0: it is not counted
 *   dlogits = (softmax(y) - [target]) * weight * factor    over the logits themselves; of a soft-cap times
 *                                                          1 - (y / cap)^2; 0 where target < 0
 *
 * The loss is not weighted. */
typedef struct hyb_op_cross_entropy {
    float *logits; /* becomes dlogits */
    int64_t stride, n_rows, n;
    float softcap;
    const int32_t *targets; /* (n_rows) */
    const float *weights;   /* or NULL: 1 */
    float factor;
    double *loss; /* (n_rows) */
} hyb_op_cross_entropy;
HYB_INLINE double hyb_bytes_cross_entropy(const hyb_op_cross_entropy *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * (double)op->n_rows * (double)op->n;
}

/* ---- what weights did since they were at the anchor, and where they are moved on that account (predict/) ---- */

/* What becomes of the anchor. */
typedef enum hyb_anchor {
    HYB_ANCHOR_STAYS,
    HYB_ANCHOR_BEFORE, /* w before it is moved */
    HYB_ANCHOR_AFTER,  /* w after it */
    HYB_ANCHOR_ALONG   /* moved as w is */
} hyb_anchor;

/* With d = w - anchor:
 *
 *   takes: b = mu b + d,  s = s + (1 - gamma) (d - s)
 *   moves: w = w + (c_d d + c_b b + c_s s + c_r (mean - w))
 *
 * s and mean may be NULL; they are left out then. */
typedef struct hyb_op_displace {
    float *w, *anchor, *b, *s;
    const float *mean;
    int64_t n;
    bool takes, moves;
    float mu, gamma, c_d, c_b, c_s, c_r;
    hyb_anchor goes;
} hyb_op_displace;
HYB_INLINE double hyb_bytes_displace(const hyb_op_displace *op, const hyb_batch *batch)
{
    const int has_s = op->s ? 1 : 0, reads = 3 + has_s + (op->mean ? 1 : 0);
    const int writes = op->moves + (op->goes != HYB_ANCHOR_STAYS) + op->takes * (1 + has_s);
    HYB_UNUSED(batch);
    return 4.0 * (double)(reads + writes) * (double)op->n;
}

/* ---- the optimizer ---- */

/* *sum = the sum of the squares of n values, in double. */
typedef struct hyb_op_squares {
    const float *x;
    int64_t n;
    double *sum;
} hyb_op_squares;
HYB_INLINE double hyb_bytes_squares(const hyb_op_squares *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n;
}

/* AdamW (Loshchilov and Hutter 2019), with g = factor * grad, c1 = 1 / (1 - beta1^t), c2 = 1 / (1 - beta2^t):
 *
 *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
 *   w = w - rate (m c1 / (sqrt(v c2) + eps) + decay w)
 *
 * and then, in the same pass over memory, what `then` says of these n weights. */
typedef struct hyb_op_adamw {
    float *w, *m, *v;
    const float *grad;
    int64_t n;
    float factor, rate, beta1, beta2, c1, c2, eps, decay;
    const hyb_op_displace *then; /* with the same w and n; or NULL */
} hyb_op_adamw;
HYB_INLINE double hyb_bytes_adamw(const hyb_op_adamw *op, const hyb_batch *batch)
{
    const double w = op->then ? 4.0 * (1 + op->then->moves) : 0; /* read and written already */
    return (28.0 - w) * (double)op->n + (op->then ? hyb_bytes_displace(op->then, batch) : 0.0);
}

/* Gradient descent with momentum, with g = factor * grad:
 *
 *   m = momentum m + g,  step = m, or of nesterov g + momentum m;  without m: step = g
 *   w = w - rate (step + decay w) */
typedef struct hyb_op_sgd {
    float *w, *m; /* m may be NULL */
    const float *grad;
    int64_t n;
    float factor, rate, momentum, decay;
    bool nesterov;
} hyb_op_sgd;
HYB_INLINE double hyb_bytes_sgd(const hyb_op_sgd *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return (op->m ? 20.0 : 12.0) * (double)op->n;
}

/* out = a + t (b - a): a running average, and what lies between two arrays */
typedef struct hyb_op_lerp {
    const float *a, *b;
    int64_t n;
    float t;
    float *out; /* may be a or b */
} hyb_op_lerp;
HYB_INLINE double hyb_bytes_lerp(const hyb_op_lerp *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 12.0 * (double)op->n;
}

/* out = x rounded to F16 or BF16, to nearest even: what is too large becomes infinite. */
typedef struct hyb_op_round {
    hybrid_type type;
    const float *x;
    int64_t n;
    uint16_t *out;
} hyb_op_round;
HYB_INLINE double hyb_bytes_round(const hyb_op_round *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 6.0 * (double)op->n;
}

/* ---- products of directions (predict/) ---- */

/* The products of all pairs of four differences x_i = a_i - b_i, summed over n values, in double; b_i may be NULL: x_i
 * = a_i; a_i NULL: x_i is zero.
 *
 *   sums: x0 x0, x0 x1, x0 x2, x0 x3, x1 x1, x1 x2, x1 x3, x2 x2, x2 x3, x3 x3 */
enum { HYB_GRAM_OF = 4, HYB_GRAM_SUMS = HYB_GRAM_OF * (HYB_GRAM_OF + 1) / 2 };
typedef struct hyb_op_gram {
    const float *a[HYB_GRAM_OF], *b[HYB_GRAM_OF];
    int64_t n;
    double *sums; /* (HYB_GRAM_SUMS) */
} hyb_op_gram;
HYB_INLINE double hyb_bytes_gram(const hyb_op_gram *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * HYB_GRAM_OF * (double)op->n;
}

/* ---- low-rank factors of a matrix (predict/lowrank.c), all sums in double ---- */

enum {
    HYB_ORTHOGONAL_MOST = 64, /* columns, and sides of small matrices */
    HYB_FACTORS_PARTS = 32    /* sums that a GPU makes apart; as in kernels/lowrank.cu */
};
/* Doubles that the ops below work in, for n columns: it has no meaning outside of them. */
HYB_INLINE int64_t hyb_factors_work(int n) { return (HYB_FACTORS_PARTS + 2) * (int64_t)n * n + 8; }

/* The columns of y (rows, n) become orthonormal, over the same space: y = q r, r upper triangular with a positive
 * diagonal. Those that are sums of others become 0, or anything that is orthogonal to the rest. */
typedef struct hyb_op_orthogonal {
    float *y;
    int64_t rows;
    int n;        /* at most HYB_ORTHOGONAL_MOST */
    double *work; /* hyb_factors_work */
} hyb_op_orthogonal;
HYB_INLINE double hyb_bytes_orthogonal(const hyb_op_orthogonal *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 24.0 * (double)op->rows * op->n;
}

/* Of y z^T, y (rows, n) with orthonormal columns, z (cols, n), the first `rank` singular values, the largest first, and
 * their vectors: left (rows, rank), right (rank, cols). With the eigenvectors E of z^T z, of each the largest component
 * positive: left = y E, right = (z E / sigma)^T; both 0 where sigma is. */
typedef struct hyb_op_factors {
    const float *y, *z;
    int64_t rows, cols;
    int n, rank;
    float *left, *right, *sigma;
    double *work; /* hyb_factors_work */
} hyb_op_factors;
HYB_INLINE double hyb_bytes_factors(const hyb_op_factors *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)(op->rows + 2 * op->cols) * op->n + 4.0 * (double)(op->rows + op->cols) * op->rank;
}

/* rest = x + add - left diag(sigma) right, (rows, cols), and *squares = the sum of its squares. rank may be 0; rest is
 * not written if *bound is `most` or above, or no number. */
typedef struct hyb_op_deflate {
    const float *x, *add; /* add may be NULL */
    const float *left, *sigma, *right;
    int64_t rows, cols;
    int rank;
    float *rest;         /* may be x, add, or NULL */
    const double *bound; /* or NULL */
    double most;
    double *squares;
} hyb_op_deflate;
HYB_INLINE double hyb_bytes_deflate(const hyb_op_deflate *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->rows * (double)op->cols * (1 + (op->add ? 1 : 0) + (op->rest ? 1 : 0));
}
#endif
#endif
