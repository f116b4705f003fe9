/* compute/ops/heads: heads: rotation, the cache, attention. */
#ifndef HYB_COMPUTE_OPS_HEADS_C
#define HYB_COMPUTE_OPS_HEADS_C
#include "norms.c"

/* table (n, n_rot/2, 2) = cos and sin of pos * inv_freq for every row of the batch, times scale. Angles are double. */
typedef struct hyb_op_rope_table {
    const double *inv_freq; /* n_rot/2 */
    int n_rot;
    float scale;
    float *table;
} hyb_op_rope_table;
HYB_INLINE double hyb_bytes_rope_table(const hyb_op_rope_table *op, const hyb_batch *batch)
{
    return 4.0 * op->n_rot * (batch->n + 1);
}

/* Rotates the first n_rot values of each head: NORM pairs (2i, 2i+1), NEOX pairs (i, i + n_rot/2). The others are
 * copied. */
typedef enum hyb_rope_kind { HYB_ROPE_NORM, HYB_ROPE_NEOX } hyb_rope_kind;
typedef struct hyb_op_rope {
    hyb_rope_kind kind;
    const float *x;
    int64_t x_stride;
    const float *table; /* of rope_table */
    int n, n_head, head_dim, n_rot;
    float *out;
    int64_t out_stride; /* may be x */
} hyb_op_rope;
HYB_INLINE double hyb_bytes_rope(const hyb_op_rope *op, const hyb_batch *batch)
{
    const double values = op->x == op->out ? op->n_rot : op->head_dim;
    HYB_UNUSED(batch);
    return 4.0 * op->n * (2 * values * op->n_head + op->n_rot);
}

/* One layer's cache. K: page p, kv head h, slot s, at k + p * page_bytes_k + (h * HYB_PAGE + s) * row_bytes_k; V alike.
 * A row is head_dim values of `type` (F16, Q8_0, F32; Q8_0 needs head_dim % 32 == 0). */
typedef struct hyb_kv_view {
    hybrid_type type;
    char *k, *v;
    size_t page_bytes_k, page_bytes_v, row_bytes_k, row_bytes_v;
    int n_head_kv, head_dim_k, head_dim_v;
} hyb_kv_view;
HYB_INLINE double hyb_kv_bytes(const hyb_kv_view *kv)
{
    return (double)kv->n_head_kv * (double)(kv->row_bytes_k + kv->row_bytes_v);
} /* of a position */

/* Writes the k and v rows of a batch into the cache. */
typedef struct hyb_op_kv_store {
    const float *k;
    int64_t k_stride;
    const float *v;
    int64_t v_stride;
    const hyb_kv_view *kv;
} hyb_op_kv_store;
HYB_INLINE double hyb_bytes_kv_store(const hyb_op_kv_store *op, const hyb_batch *batch)
{
    return batch->n * (hyb_kv_bytes(op->kv) + 4.0 * op->kv->n_head_kv * (op->kv->head_dim_k + op->kv->head_dim_v));
}

/* What happens to heads between the products and attention: norm of each head of q and k, rotation of both, writing of
 * k and v into the cache. The same as norm, norm, rope, rope, kv_store with these fields (hyb_heads_in_parts), where a
 * back end does it in one go to the last place or two. */
typedef struct hyb_op_heads {
    const float *q, *k, *v;
    int64_t stride; /* of all three; n rows */
    int n, n_head;
    const float *q_norm, *k_norm; /* head_dim_k weights, or NULL: no norm */
    hyb_norm_kind norm;
    float eps;
    hyb_rope_kind rope;
    const float *table;
    int n_rot; /* of rope_table; 0: no rotation */
    float *q_out, *k_out;
    int64_t out_stride; /* may be q and k */
    const hyb_kv_view *kv;
} hyb_op_heads;
HYB_INLINE double hyb_bytes_heads(const hyb_op_heads *op, const hyb_batch *batch)
{
    const double values =
        2.0 * op->n_head * op->kv->head_dim_k + op->kv->n_head_kv * (2.0 * op->kv->head_dim_k + op->kv->head_dim_v);
    return batch->n * (4 * (values + op->n_rot) + hyb_kv_bytes(op->kv));
}

/* out (n, n_head * head_dim_v): causal attention of each row over its sequence's cache (its own position included,
 * already stored). s = q.k * scale; soft-cap: s = cap * tanh(s / cap); window > 0: only positions > pos - window;
 * window HYB_BOTH_WAYS (the host alone): all positions up to the last one of its run, later ones too; sinks
 * (n_head): exp(sink - max) joins the denominator. Query head h reads kv head h / (n_head / n_head_kv). */
enum { HYB_BOTH_WAYS = -1 };
typedef struct hyb_op_attention {
    const hyb_kv_view *kv;
    const float *q;
    int64_t q_stride;
    int n_head;
    float scale, softcap; /* softcap 0: none */
    int32_t window;
    const float *sinks;
    float *out;
    int64_t out_stride;
} hyb_op_attention;
HYB_INLINE double hyb_bytes_attention(const hyb_op_attention *op, const hyb_batch *batch)
{
    double bytes = 4.0 * batch->n * op->n_head * (op->kv->head_dim_k + op->kv->head_dim_v);
    int i;
    for (i = 0; i < batch->n_runs; i++) { /* of the cache each position that a run sees, once */
        int64_t seen = (int64_t)batch->runs[i].pos + batch->runs[i].n_rows;
        if (op->window > 0) seen = HYB_MIN(seen, (int64_t)op->window + batch->runs[i].n_rows - 1);
        bytes += (double)seen * hyb_kv_bytes(op->kv);
    }
    return bytes;
}

#ifndef HYBRID_NO_TRAIN
/* Of attention, over runs that begin at position 0: with P the probabilities, made again from q and the
 * cache,
 *
 *   dP = dout . V^T,  delta = the sum of dout * out,  dS = P (dP - delta) scale (and, of a soft-cap, 1 - (s / cap)^2)
 *   dq = dS . K,  dk = dS^T . q,  dv = P^T . dout         summed over the query heads of a kv head
 *
 * (Dao 2023, "FlashAttention-2", without its tiles over keys: a block of rows has all of its scores, so memory is
 * linear in the length of a run.) dk and dv are rows of the batch, as k and v were when they were stored.
 *
 * A sink has a share of each row's probabilities, and no value: dsinks (n_head) += the sum over rows of -(its share)
 * delta. */
enum { HYB_ATTENTION_BACK_ROWS = 48 }; /* of a block */
typedef struct hyb_op_attention_back {
    const hyb_kv_view *kv;
    const float *q, *out, *dout;
    int64_t q_stride, out_stride; /* out_stride: of dout, too */
    int n_head;
    float scale, softcap;
    int32_t window;
    float *dq, *dk, *dv;
    int64_t stride;     /* of all three */
    const float *sinks; /* (n_head), or NULL, as the next two are then */
    float *dsinks;      /* (n_head) */
    float *sink_rows;   /* (n, n_head) scratch */
} hyb_op_attention_back;
HYB_INLINE double hyb_bytes_attention_back(const hyb_op_attention_back *op, const hyb_batch *batch)
{
    const hyb_kv_view *kv = op->kv;
    return 4.0 * batch->n * op->n_head * (2 * kv->head_dim_k + 2 * kv->head_dim_v) +
           batch->n * (hyb_kv_bytes(kv) + 4.0 * kv->n_head_kv * (kv->head_dim_k + kv->head_dim_v));
}
#endif
#endif
