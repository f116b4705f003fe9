/* compute/op: tensors, batches, and the structure of every op: what it reads, what it writes, and how many bytes that
 * is.
 *
 * Every pointer in an op is an address in the memory of the back end's device: it is computed with, but only the back
 * end looks after it. Activations are float32 rows, contiguous inside a row, rows `stride` floats apart. Weights are
 * tensors in the type of their file.
 *
 * Inputs are const and outputs are not. Where a comment says that an output may lie on an input, it may be the very
 * same rows: who lays out the memory decides that (hyb_activations_layout), not the op. Everything else may not
 * overlap.
 *
 * hyb_bytes_name(op, batch): what the op has to read and write, weights included, each once: for a profile. */
#ifndef HYB_COMPUTE_OP_C
#define HYB_COMPUTE_OP_C
#include "../api/quant.h"
#include "../core/macros.h"

typedef struct hyb_tensor {
    const char *name;
    hybrid_type type;
    int64_t ne[4];        /* sizes; ne[0] is contiguous. A matrix W[out][in] has ne = { in, out, 1, 1 } */
    size_t nb[4];         /* byte strides; nb[1] = bytes of a row */
    const void *data;     /* NULL: no such tensor */
    const void *repacked; /* NULL, or those rows that make groups of 8 once more, as decode on the host likes them
                             (int/repack.c) */
    bool is_vector;       /* added or multiplied value by value: no matrix of one row, which products read */
    uint32_t source;      /* of a weight: which tensor of its file it is */
    int32_t same_as;      /* of a weight: 0, or the one of the model's table whose bytes it shares */
} hyb_tensor;

/* ---- the batch ---- */

/* Consecutive rows of a batch that belong to one sequence at consecutive positions. */
typedef struct hyb_run {
    int first_row, n_rows;
    int32_t pos;               /* position of the first row */
    const int32_t *pages;      /* page table of the sequence: position p lives in page pages[p / HYB_PAGE] */
    int32_t slot_in, slot_out; /* of a recurrent state: the slot that the run goes on from (-1: zeros), and the one that
                                  it leaves it in */
} hyb_run;
enum { HYB_PAGE = 32 }; /* positions a page of the KV cache */

/* The rows that go through the model together. In the host's memory, and unchanged until sync(). */
typedef struct hyb_batch {
    const int32_t *ids, *pos;
    int n; /* token and position of every row */
    const hyb_run *runs;
    int n_runs; /* in the order of their rows */
    const int32_t *out;
    int n_out; /* rows whose logits are wanted, ascending */
} hyb_batch;
typedef enum hyb_index { HYB_INDEX_ID, HYB_INDEX_POS, HYB_INDEX_OUT } hyb_index;

/* Which rows of the batch the rows of an op are: row r is row r, or, after the rows whose logits are wanted have been
 * gathered, row out[r]. */
typedef enum hyb_rows { HYB_ROWS_BATCH, HYB_ROWS_OUT } hyb_rows;

/* The run that row r of such an op belongs to: what is a sequence's own (an adapter) is found by it. */
HYB_INLINE int hyb_run_of_row(const hyb_batch *batch, hyb_rows rows, int r)
{
    const int row = rows == HYB_ROWS_OUT ? (int)batch->out[r] : r;
    int low = 0, high = batch->n_runs - 1;
    while (low < high) { /* the last run that begins at row or before it */
        const int middle = (low + high + 1) / 2;
        if (batch->runs[middle].first_row <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* ---- embeddings and norms ---- */

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

/* ---- products ---- */

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

/* ---- heads and the cache ---- */

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

/* ---- recurrence ---- */

/* What a layer keeps of a sequence from row to row, in a slot: slot s is at data + s * stride. A run goes on from its
 * slot_in and leaves its slot_out, which may be the same one. No two runs of a batch have the same slot_out, and no
 * slot_out is the slot_in of another run; several runs may have the same slot_in. */
typedef struct hyb_slots {
    float *data;
    int64_t stride; /* in floats */
} hyb_slots;

/* The bytes of what slots keep that a batch reads and writes, n floats a slot. */
HYB_INLINE double hyb_slots_bytes(const hyb_batch *batch, int64_t n) { return 8.0 * batch->n_runs * (double)n; }

/* The token shift: out_i (n, n_embd) = x + (before - x) * mix_i, where before is the row before x in its run, and for
 * the first row of a run what its slot keeps: n_embd values, the last row of x. All rows of the batch, no gaps; out_i
 * begins at out + i * plane. */
typedef struct hyb_op_shift {
    const float *x;
    const float *mix; /* (n_mix, n_embd) */
    int n_mix;
    int64_t n_embd;
    hyb_slots slots;
    float *out;
    int64_t plane;
} hyb_op_shift;
HYB_INLINE double hyb_bytes_shift(const hyb_op_shift *op, const hyb_batch *batch)
{
    const double values = (double)op->n_embd * (batch->n + (double)op->n_mix * (batch->n + 1));
    return 4 * values + hyb_slots_bytes(batch, op->n_embd);
}

/* The recurrence of RWKV-7 ("Goose", Peng et al. 2025), with what stands around it, for every head alone. Rows have
 * n_head * size values; those of r, k, v, decay, rate, value_gate and gate are `stride` floats apart.
 *
 *   v  = v + (v_first - v) * sigmoid(value_gate)           the first layer has neither: v as it is
 *   w  = exp(-0.606531 sigmoid(decay)), a = sigmoid(rate)
 *   kk = k k_k, over its L2 norm (at least 1e-12)
 *   k  = k (1 + (a - 1) k_a)
 *   sa_i = sum over j of -kk_j M_ij                        M (size, size) of the slot, from row to row
 *   M_ij = M_ij w_j + sa_i kk_j a_j + v_i k_j
 *   y_i  = sum over j of M_ij r_j
 *   y    = the normed y (mean and variance of the head, eps) ln_w + ln_b
 *   out  = (y + v sum over j of r_j k_j r_k_j) gate
 *
 * The slot keeps M of every head, transposed: M_ij is value (head * size + j) * size + i. */
enum { HYB_WKV_SIZE_MAX = 128 };
typedef struct hyb_op_wkv7 {
    const float *r, *k, *v;
    const float *decay, *rate; /* before the sigmoid */
    const float *value_gate;   /* before the sigmoid; NULL, as v_first then is: the first layer */
    const float *gate;         /* or NULL: 1 */
    int64_t stride;
    const float *v_first; /* v of the first layer */
    int64_t v_first_stride;
    const float *k_k, *k_a, *r_k; /* (n_head * size) */
    const float *ln_w, *ln_b;     /* (n_head * size), or NULL, both: no norm */
    float eps;
    int n_head, size; /* size <= HYB_WKV_SIZE_MAX */
    hyb_slots slots;
    float *out;
    int64_t out_stride; /* may be any of the rows that are `stride` apart */
} hyb_op_wkv7;
HYB_INLINE double hyb_bytes_wkv7(const hyb_op_wkv7 *op, const hyb_batch *batch)
{
    const double width = (double)op->n_head * op->size;
    const int rows = 6 + (op->gate ? 1 : 0) + (op->v_first ? 2 : 0), weights = 3 + (op->ln_w ? 2 : 0);
    return 4 * width * (rows * (double)batch->n + weights) + hyb_slots_bytes(batch, (int64_t)width * op->size);
}

#ifndef HYBRID_NO_TRAIN
/* Of shift, over runs that begin with nothing (before is 0 there, and nothing comes after them):
 *
 *   dx(t) = the sum over i of dout_i(t) (1 - mix_i) + dout_i(t + 1) mix_i
 *   dmix_i += the sum over t of dout_i(t) (before - x) */
typedef struct hyb_op_shift_back {
    const float *x;
    const float *mix; /* (n_mix, n_embd) */
    int n_mix;
    int64_t n_embd;
    const float *dout; /* dout_i begins at dout + i * plane */
    int64_t plane;
    float *dx;
    float *dmix; /* or NULL */
} hyb_op_shift_back;
HYB_INLINE double hyb_bytes_shift_back(const hyb_op_shift_back *op, const hyb_batch *batch)
{
    return 4 * (double)op->n_embd * (batch->n * (2.0 + op->n_mix) + (op->dmix ? 3.0 : 1.0) * op->n_mix);
}

/* Of wkv7, over runs that begin with nothing. With away = -kk, back = kk a, G the gradient of M after a row, P = M
 * before it, and dy that of y, for the rows of a run from the last to the first:
 *
 *   G_ij = G_ij + dy_i r_j,       dr_j = the sum over i of M_ij dy_i
 *   dv_i = the sum over j of G_ij k_j,  dk_j = the sum over i of G_ij v_i
 *   dsa_i = the sum over j of G_ij back_j,  dback_j = the sum over i of G_ij sa_i,  dw_j = the sum over i of G_ij P_ij
 *   G_ij = G_ij w_j + dsa_i away_j,     daway_j = the sum over i of P_ij dsa_i
 *
 * and then through all that stands around it. M is made again: it is kept before every HYB_WKV_BACK_ROWS-th row of a
 * run, and of that many rows at a time, so a head works in size^2 (rows / 16 + 18) floats, whatever the batch.
 *
 * Gradients of rows lie as those rows do, and each may be the rows that it is of. */
enum { HYB_WKV_BACK_ROWS = 16 };
typedef struct hyb_op_wkv7_back {
    hyb_op_wkv7 of; /* what was done: its slots and out are not looked at */
    const float *dout;
    int64_t dout_stride;
    float *dr, *dk, *dv, *ddecay, *drate;
    float *dvalue_gate, *dgate; /* where `of` has them */
    float *dv_first;            /* is added to */
    float *dk_k, *dk_a, *dr_k;  /* are added to; all may be NULL together, with the next two */
    float *dln_w, *dln_b;
} hyb_op_wkv7_back;
HYB_INLINE double hyb_bytes_wkv7_back(const hyb_op_wkv7_back *op, const hyb_batch *batch)
{
    const double width = (double)op->of.n_head * op->of.size, states = (double)batch->n / HYB_WKV_BACK_ROWS;
    const int rows = 6 + (op->of.gate ? 1 : 0) + (op->of.v_first ? 2 : 0);
    return 4 * width * ((2.0 * rows + 1) * (double)batch->n + 2 * states * op->of.size);
}
/* Floats that it works in for one head, of runs of at most n rows. */
HYB_INLINE size_t hyb_wkv7_back_floats(int size, int n)
{
    const int states = (n + HYB_WKV_BACK_ROWS - 1) / HYB_WKV_BACK_ROWS + HYB_WKV_BACK_ROWS + 2;
    return (size_t)size * (size_t)size * (size_t)states;
}
#endif

/* A gated short convolution (LFM2). Rows of bcx are b, c and x, n_embd values each, side by side:
 *
 *   u(t) = b x,   out(t) = c * sum over j of w_j * u(t - (n_taps - 1) + j)
 *
 * for every column alone; w is (n_embd, n_taps). The slot keeps the last n_taps - 1 rows of u, the oldest first. */
enum { HYB_TAPS_MAX = 16 };
typedef struct hyb_op_shortconv {
    const float *bcx;
    int64_t bcx_stride;
    const float *w;
    int n_taps; /* 1 .. HYB_TAPS_MAX */
    int64_t n_embd;
    hyb_slots slots;
    float *out;
    int64_t out_stride;
} hyb_op_shortconv;
HYB_INLINE double hyb_bytes_shortconv(const hyb_op_shortconv *op, const hyb_batch *batch)
{
    const double n = (double)op->n_embd;
    return 4 * n * (4.0 * batch->n + op->n_taps) + hyb_slots_bytes(batch, (op->n_taps - 1) * op->n_embd);
}

#ifndef HYBRID_NO_TRAIN
/* Of shortconv, over runs that begin with nothing (u is 0 before them, and nothing comes after them): with s(t) the sum
 * that c is multiplied with, and k = n_taps - 1,
 *
 *   dc(t) = dout(t) s(t),  ds(t) = dout(t) c(t),  du(t) = the sum over j of w_j ds(t + k - j)
 *   db(t) = du(t) x(t),  dx(t) = du(t) b(t),      dw_j += the sum over t of ds(t) u(t - k + j) */
typedef struct hyb_op_shortconv_back {
    const float *bcx; /* of b, c and x, as dbcx is of their gradients */
    int64_t bcx_stride;
    const float *w;
    int n_taps;
    int64_t n_embd;
    const float *dout;
    int64_t dout_stride;
    float *dbcx;
    int64_t dbcx_stride;
    float *dw; /* or NULL */
} hyb_op_shortconv_back;
HYB_INLINE double hyb_bytes_shortconv_back(const hyb_op_shortconv_back *op, const hyb_batch *batch)
{
    return 4 * (double)op->n_embd * (7.0 * batch->n + (op->dw ? 3.0 : 1.0) * op->n_taps);
}
#endif

/* ---- activations and experts ---- */

/* out = act(gate) * up, or act(gate) when up is NULL. n_rows rows of n values. RELU2 is the square of max(x, 0). */
typedef enum hyb_act_kind {
    HYB_ACT_SILU,
    HYB_ACT_GELU_TANH,
    HYB_ACT_GELU,
    HYB_ACT_TANH,
    HYB_ACT_SIGMOID,
    HYB_ACT_RELU2,
    HYB_ACT_KINDS
} hyb_act_kind;
typedef struct hyb_op_glu {
    hyb_act_kind act;
    const float *gate;
    int64_t gate_stride;
    const float *up;
    int64_t up_stride;
    int64_t n_rows, n;
    float *out;
    int64_t out_stride; /* may be gate or up */
} hyb_op_glu;
HYB_INLINE double hyb_bytes_glu(const hyb_op_glu *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->up ? 3 : 2);
}

#ifndef HYBRID_NO_TRAIN
/* Of glu: dgate = dout * up * act'(gate), dup = dout * act(gate); without up, dgate = dout * act'(gate). dgate may be
 * gate, and dup may be up. */
typedef struct hyb_op_glu_back {
    hyb_act_kind act;
    const float *gate, *up, *dout;
    int64_t stride; /* of gate, up, dgate and dup */
    int64_t dout_stride;
    int64_t n_rows, n;
    float *dgate, *dup;
} hyb_op_glu_back;
HYB_INLINE double hyb_bytes_glu_back(const hyb_op_glu_back *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->up ? 5 : 3);
}
#endif

/* Chooses experts for each row: ids (n, n_used), the largest of its n_expert logits, largest first, of equal ones the
 * lower id; and weights (n, n_used): SOFTMAX: of all logits, of which norm makes the chosen ones sum to 1; SIGMOID: of
 * each logit alone. All times scale. Both read logits that are NaN as the smallest. */
typedef enum hyb_route_kind { HYB_ROUTE_SOFTMAX, HYB_ROUTE_SIGMOID } hyb_route_kind;
enum { HYB_EXPERTS_MAX = 1024, HYB_EXPERTS_USED_MAX = 64 };
typedef struct hyb_op_route {
    hyb_route_kind kind;
    const float *logits;     /* (n, n_expert), no gaps */
    int n, n_expert, n_used; /* 1 <= n_used <= n_expert */
    bool norm;
    float scale;
    int32_t *ids;
    float *weights;
} hyb_op_route;
HYB_INLINE double hyb_bytes_route(const hyb_op_route *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (op->n_expert + 2 * op->n_used);
}

/* Products with the matrices of chosen experts, up to 2 that read the same rows: row r * n_used + s of y_i =
 * W_i[ids[r][s]] . x, where x is row r, or row r * n_used + s when each_own. W_i (out_i, k) of expert e lies at data +
 * e * nb[2]; ne[2] = n_expert. */
typedef struct hyb_op_experts {
    hyb_rows rows; /* which rows of the batch r counts */
    const float *x;
    int64_t x_stride;
    const int32_t *ids; /* (n, n_used), in 0 .. n_expert - 1, of one row all different */
    int n, n_used;
    bool each_own;
    int n_out;
    struct {
        const hyb_tensor *w;
        float *y;
        int64_t y_stride;
    } out[2];
} hyb_op_experts;
HYB_INLINE double hyb_bytes_experts(const hyb_op_experts *op, const hyb_batch *batch)
{
    const double choices = (double)op->n * op->n_used;
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) { /* as if the choices were as different as can be */
        const hyb_tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * (op->each_own ? choices : op->n) * (double)w->ne[0];
        bytes += HYB_MIN(choices, (double)w->ne[2]) * (double)w->nb[2] + 4 * choices * (double)w->ne[1];
    }
    return bytes;
}

/* out (n, n_embd) = add + the sum over s of weights (n, n_used) [r][s] * x (n * n_used, n_embd) [r * n_used + s], in
 * the order of s. Rows without gaps. */
typedef struct hyb_op_combine {
    const float *x, *weights, *add;
    int n, n_used;
    int64_t n_embd;
    float *out; /* may be add */
} hyb_op_combine;
HYB_INLINE double hyb_bytes_combine(const hyb_op_combine *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (double)op->n_embd * (op->n_used + 2);
}

#ifndef HYBRID_NO_TRAIN
/* Of route, whose choice is taken as it was made: with g = dweights scale,
 *
 *   SOFTMAX, all:   dlogits_i = p_i (g of i, or 0 where it was not chosen - the sum of g p over the chosen)
 *   SOFTMAX, norm:  the same with p over the chosen alone; 0 where it was not chosen
 *   SIGMOID:        dlogits_i = g s (1 - s), s = sigmoid(logit), or 0 */
typedef struct hyb_op_route_back {
    hyb_route_kind kind;
    const float *logits;
    int n, n_expert, n_used;
    bool norm;
    float scale;
    const int32_t *ids;    /* (n, n_used) */
    const float *dweights; /* (n, n_used) */
    float *dlogits;        /* (n, n_expert) */
} hyb_op_route_back;
HYB_INLINE double hyb_bytes_route_back(const hyb_op_route_back *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (2 * op->n_expert + 2 * op->n_used);
}

/* Rows times a weight each: out (n_rows, n) = x * weights (n_rows). And, before that, dots (n_rows) = the sum of x y
 * over each row; y and dots may be NULL, both. So the way back through y * weight is, of its gradient x: dots is that
 * of the weight, and out is that of y. */
typedef struct hyb_op_weigh {
    const float *x, *y;
    int64_t x_stride, y_stride;
    const float *weights;
    int64_t n_rows, n;
    float *dots;
    float *out;
    int64_t out_stride; /* may be x */
} hyb_op_weigh;
HYB_INLINE double hyb_bytes_weigh(const hyb_op_weigh *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->y ? 3 : 2);
}

/* Of experts, for choices c = row * n_used + s:
 *
 *   dx of choice c = the sum over i of dy_i (out_i) . W_i[ids[c]] (out_i, k), in the order of i
 *   dw_i[e] (out_i, k) += the sum over the choices of expert e, in their order, of dy_i^T x
 *
 * x and dy have a row for each choice (x_each, dy_each), or one that all choices of a row share. dx_each: dx has a row
 * for each choice; else it has one for each row: add + the sum over its choices, in their order. Rows of dx and add
 * without gaps. W of any type. */
typedef struct hyb_op_experts_back {
    const float *x;
    int64_t x_stride;
    const int32_t *ids; /* (n, n_used) */
    int n, n_used;
    bool x_each, dy_each, dx_each;
    int n_out;
    struct {
        const hyb_tensor *w;
        const float *dy;
        int64_t dy_stride;
        float *dw; /* as W lies when it is of F32; or NULL */
    } out[2];
    const float *add; /* or NULL: 0 */
    float *dx;        /* may be add */
    float *work;      /* hyb_experts_back_work floats */
} hyb_op_experts_back;
/* Floats that it works in: the choices' rows in the order of their experts, and where they are. out: of all
 * matrices. */
HYB_INLINE int64_t hyb_experts_back_work(int64_t n_choices, int64_t n_expert, int64_t k, int64_t out)
{
    return n_choices * (2 + 2 * k + out) + n_expert + 1;
}
HYB_INLINE double hyb_bytes_experts_back(const hyb_op_experts_back *op, const hyb_batch *batch)
{
    const double choices = (double)op->n * op->n_used;
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {
        const hyb_tensor *w = op->out[i].w;
        const double values = (double)w->ne[0] * (double)w->ne[1];
        if (!i) bytes += 8.0 * choices * (double)w->ne[0];
        bytes += HYB_MIN(choices, (double)w->ne[2]) * ((double)w->nb[2] + (op->out[i].dw ? 8.0 * values : 0));
        bytes += 4 * choices * (double)w->ne[1];
    }
    return bytes;
}
#endif

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
