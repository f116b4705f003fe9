/* compute/ops/values: what is computed value by value, and the largest logits. */
#ifndef HYB_COMPUTE_OPS_VALUES_C
#define HYB_COMPUTE_OPS_VALUES_C
#include "batch.c"

/* ---- value by value ---- */

/* out = a + b */
typedef struct hyb_op_add {
    const float *a, *b;
    int64_t n;
    float *out; /* may be a or b */
} hyb_op_add;
HYB_INLINE double hyb_bytes_add(const hyb_op_add *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 12.0 * (double)op->n;
}

/* out = x * factor */
typedef struct hyb_op_scale {
    const float *x;
    float factor;
    int64_t n;
    float *out; /* may be x */
} hyb_op_scale;
HYB_INLINE double hyb_bytes_scale(const hyb_op_scale *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * (double)op->n;
}

/* out = cap * tanh(x / cap) */
typedef struct hyb_op_softcap {
    const float *x;
    float cap;
    int64_t n;
    float *out; /* may be x */
} hyb_op_softcap;
HYB_INLINE double hyb_bytes_softcap(const hyb_op_softcap *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * (double)op->n;
}

/* ---- the largest logits ---- */

/* ids, values (n_rows, k): the k largest of each row of logits, the largest first, of equal ones the lower id; where
 * there are fewer than k, id -1 and -inf. stats (n_rows, 2): the maximum, and the sum of e^(x - maximum) over the row:
 * NaN when the row holds a NaN. */
enum { HYB_TOP_K_MAX = 256 };
typedef struct hyb_op_top_k {
    const float *logits;
    int64_t stride;
    int32_t n_rows, n, k; /* 1 <= k <= HYB_TOP_K_MAX; the first n logits of a row */
    int32_t *ids;
    float *values, *stats;
} hyb_op_top_k;
HYB_INLINE double hyb_bytes_top_k(const hyb_op_top_k *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n_rows * ((double)op->n + 2 * op->k + 2);
}
#endif
