/* compute/op: tensors, batches, and the structure of every op: what it reads, what it writes, and how many bytes that is.
 *
 * Every pointer in an op is an address in the memory of the back end's device: it is computed with, but only the back end looks behind it.
 * Activations are float32 rows, contiguous inside a row, rows `stride` floats apart. Weights are tensors in the type of their file.
 *
 * Inputs are const and outputs are not. Where a comment says that an output may lie on an input, it may be the very same rows: who lays out the
 * memory decides that (hybrid__activations_layout), not the op. Everything else may not overlap.
 *
 * hybrid__bytes_name(op, batch): what the op has to read and write, weights included, each once: for a profile. */

typedef struct hybrid__tensor {
    const char *name;
    hybrid_type type;
    int64_t     ne[4];                  /* sizes; ne[0] is contiguous. A matrix W[out][in] has ne = { in, out, 1, 1 } */
    size_t      nb[4];                  /* byte strides; nb[1] = bytes of a row */
    const void *data;                   /* NULL: no such tensor */
    const void *repacked;               /* NULL, or those rows that make groups of 8 once more, as decode on the host likes them (cpu_int_repack.c) */
    bool        is_vector;              /* added or multiplied value by value: no matrix of one row, which products read */
    uint32_t    source;                 /* of a weight: which tensor of its file it is */
} hybrid__tensor;

/* ---- the batch ---- */

/* Consecutive rows of a batch that belong to one sequence at consecutive positions. */
typedef struct hybrid__run {
    int      first_row, n_rows;
    int32_t  pos;                       /* position of the first row */
    const int32_t *pages;               /* page table of the sequence: position p lives in page pages[p / HYBRID__PAGE] */
} hybrid__run;
enum { HYBRID__PAGE = 32 };             /* positions a page of the KV cache */

/* The rows that go through the model together. In the host's memory, and unchanged until sync(). */
typedef struct hybrid__batch {
    const int32_t *ids, *pos; int n;    /* token and position of every row */
    const hybrid__run *runs; int n_runs;               /* in the order of their rows */
    const int32_t *out; int n_out;      /* rows whose logits are wanted, ascending */
} hybrid__batch;
typedef enum hybrid__index { HYBRID__INDEX_ID, HYBRID__INDEX_POS, HYBRID__INDEX_OUT } hybrid__index;

/* Which rows of the batch the rows of an op are: row r is row r, or, after the rows whose logits are wanted have been gathered, row out[r]. */
typedef enum hybrid__rows { HYBRID__ROWS_BATCH, HYBRID__ROWS_OUT } hybrid__rows;

/* The run that row r of such an op belongs to: what is a sequence's own (an adapter) is found by it. */
HYBRID__INLINE int hybrid__run_of_row(const hybrid__batch *batch, hybrid__rows rows, int r)
{
    const int row = rows == HYBRID__ROWS_OUT ? (int)batch->out[r] : r;
    int low = 0, high = batch->n_runs - 1;
    while (low < high) {                /* the last run that begins at row or before it */
        const int middle = (low + high + 1) / 2;
        if (batch->runs[middle].first_row <= row) low = middle; else high = middle - 1;
    }
    return low;
}

/* ---- embeddings and norms ---- */

/* out (n, n_embd) = table[index] * scale (+ add), for each id, position or wanted row of the batch. */
typedef struct hybrid__op_embed {
    const hybrid__tensor *table;        /* (n_embd, n_vocab), any type; every index below n_vocab */
    hybrid__index index;
    float  scale;                       /* 1 for none */
    const float *add;                   /* (n, n_embd), or NULL */
    float *out;                         /* may be add */
} hybrid__op_embed;
HYBRID__INLINE double hybrid__bytes_embed(const hybrid__op_embed *op, const hybrid__batch *batch)
{
    const double n = op->index == HYBRID__INDEX_OUT ? batch->n_out : batch->n;
    return n * ((double)op->table->nb[1] + 4.0 * (double)op->table->ne[0] * (op->add ? 2 : 1));
}

/* RMS:   out = x / sqrt(mean(x^2) + eps) * w          Layer: out = (x - mean) / sqrt(var + eps) * w + b   (var is biased)
 * n_rows rows of n_group groups of n values; groups are n apart, and each is normed alone. w, b (n) may be NULL (1 and 0). */
typedef enum hybrid__norm_kind { HYBRID__NORM_RMS, HYBRID__NORM_LAYER } hybrid__norm_kind;
typedef struct hybrid__op_norm {
    hybrid__norm_kind kind;
    const float *x; int64_t x_stride;
    const float *w, *b;
    int64_t n_rows, n_group, n;
    float   eps;
    float *out; int64_t out_stride;     /* may be x */
} hybrid__op_norm;
HYBRID__INLINE double hybrid__bytes_norm(const hybrid__op_norm *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 8.0 * (double)op->n_rows * (double)op->n_group * (double)op->n;
}

/* ---- products ---- */

/* The three forms of a product with W (out, k). The second and the third, gradients of the inputs and of the weights, are refused by name until
 * there are kernels for them. */
typedef enum hybrid__form { HYBRID__FORM_X_WT, HYBRID__FORM_DY_W, HYBRID__FORM_DYT_X } hybrid__form;

/* NULL, or why no back end does this form. */
HYBRID__INLINE const char *hybrid__form_refused(hybrid__form form)
{
    if (form == HYBRID__FORM_DY_W) return "products of the form dy W (the gradient of an input) cannot be computed yet";
    if (form == HYBRID__FORM_DYT_X) return "products of the form dy^T x (the gradient of a weight) cannot be computed yet";
    return NULL;
}

/* Up to 4 matrices that read the same rows: y_i (n, out_i) = x (n, k) . W_i (out_i, k)^T + bias_i + add_i. */
typedef struct hybrid__matmul_out {
    const hybrid__tensor *w;            /* ne[0] = k, ne[1] = out */
    const float *bias;                  /* out values, or NULL */
    const float *add; int64_t add_stride;              /* (n, out), or NULL */
    float *y; int64_t y_stride;         /* may be add, of the same stride */
} hybrid__matmul_out;
typedef struct hybrid__op_matmul {
    hybrid__form form;
    hybrid__rows rows;                  /* which rows of the batch x has */
    const float *x; int64_t x_stride;
    int n;
    int n_out;
    hybrid__matmul_out out[4];
} hybrid__op_matmul;
HYBRID__INLINE double hybrid__bytes_matmul(const hybrid__op_matmul *op, const hybrid__batch *batch)
{
    double bytes = 0;
    int i;
    HYBRID__UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {
        const hybrid__tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * op->n * (double)w->ne[0];
        bytes += (double)w->nb[1] * (double)w->ne[1] + 4.0 * op->n * (double)w->ne[1] * (op->out[i].add ? 2 : 1);
    }
    return bytes;
}

/* ---- heads and the cache ---- */

/* table (n, n_rot/2, 2) = cos and sin of pos * inv_freq for every row of the batch, times scale. Angles are double. */
typedef struct hybrid__op_rope_table {
    const double *inv_freq;             /* n_rot/2 */
    int    n_rot;
    float  scale;
    float *table;
} hybrid__op_rope_table;
HYBRID__INLINE double hybrid__bytes_rope_table(const hybrid__op_rope_table *op, const hybrid__batch *batch)
{
    return 4.0 * op->n_rot * (batch->n + 1);
}

/* Rotates the first n_rot values of each head: NORM pairs (2i, 2i+1), NEOX pairs (i, i + n_rot/2). The others are copied. */
typedef enum hybrid__rope_kind { HYBRID__ROPE_NORM, HYBRID__ROPE_NEOX } hybrid__rope_kind;
typedef struct hybrid__op_rope {
    hybrid__rope_kind kind;
    const float *x; int64_t x_stride;
    const float *table;                 /* of rope_table */
    int    n, n_head, head_dim, n_rot;
    float *out; int64_t out_stride;     /* may be x */
} hybrid__op_rope;
HYBRID__INLINE double hybrid__bytes_rope(const hybrid__op_rope *op, const hybrid__batch *batch)
{
    const double values = op->x == op->out ? op->n_rot : op->head_dim;
    HYBRID__UNUSED(batch);
    return 4.0 * op->n * (2 * values * op->n_head + op->n_rot);
}

/* One layer's cache. K: page p, kv head h, slot s, at k + p * page_bytes_k + (h * HYBRID__PAGE + s) * row_bytes_k; V alike. A row is
 * head_dim values of `type` (F16, Q8_0, F32; Q8_0 needs head_dim % 32 == 0). */
typedef struct hybrid__kv_view {
    hybrid_type type;
    char   *k, *v;
    size_t  page_bytes_k, page_bytes_v, row_bytes_k, row_bytes_v;
    int     n_head_kv, head_dim_k, head_dim_v;
} hybrid__kv_view;
HYBRID__INLINE double hybrid__kv_bytes(const hybrid__kv_view *kv) { return (double)kv->n_head_kv * (double)(kv->row_bytes_k + kv->row_bytes_v); }      /* of a position */

/* Writes the k and v rows of a batch into the cache. */
typedef struct hybrid__op_kv_store {
    const float *k; int64_t k_stride;
    const float *v; int64_t v_stride;
    const hybrid__kv_view *kv;
} hybrid__op_kv_store;
HYBRID__INLINE double hybrid__bytes_kv_store(const hybrid__op_kv_store *op, const hybrid__batch *batch)
{
    return batch->n * (hybrid__kv_bytes(op->kv) + 4.0 * op->kv->n_head_kv * (op->kv->head_dim_k + op->kv->head_dim_v));
}

/* What happens to heads between the products and attention: norm of each head of q and k, rotation of both, writing of k and v into the cache.
 * The same as norm, norm, rope, rope, kv_store with these fields (hybrid__heads_in_parts), where a back end does it in one go to the last place or two. */
typedef struct hybrid__op_heads {
    const float *q, *k, *v; int64_t stride;            /* of all three; n rows */
    int    n, n_head;
    const float *q_norm, *k_norm;                      /* head_dim_k weights, or NULL: no norm */
    hybrid__norm_kind norm; float eps;
    hybrid__rope_kind rope;
    const float *table; int n_rot;                     /* of rope_table; 0: no rotation */
    float *q_out, *k_out; int64_t out_stride;          /* may be q and k */
    const hybrid__kv_view *kv;
} hybrid__op_heads;
HYBRID__INLINE double hybrid__bytes_heads(const hybrid__op_heads *op, const hybrid__batch *batch)
{
    const double values = 2.0 * op->n_head * op->kv->head_dim_k + op->kv->n_head_kv * (2.0 * op->kv->head_dim_k + op->kv->head_dim_v);
    return batch->n * (4 * (values + op->n_rot) + hybrid__kv_bytes(op->kv));
}

/* out (n, n_head * head_dim_v): causal attention of each row over its sequence's cache (its own position included, already stored).
 * s = q.k * scale; soft-cap: s = cap * tanh(s / cap); window > 0: only positions > pos - window; sinks (n_head): exp(sink - max) joins the
 * denominator. Query head h reads kv head h / (n_head / n_head_kv). */
typedef struct hybrid__op_attention {
    const hybrid__kv_view *kv;
    const float *q; int64_t q_stride;
    int    n_head;
    float  scale, softcap;              /* softcap 0: none */
    int32_t window;
    const float *sinks;
    float *out; int64_t out_stride;
} hybrid__op_attention;
HYBRID__INLINE double hybrid__bytes_attention(const hybrid__op_attention *op, const hybrid__batch *batch)
{
    double bytes = 4.0 * batch->n * op->n_head * (op->kv->head_dim_k + op->kv->head_dim_v);
    int i;
    for (i = 0; i < batch->n_runs; i++) {               /* of the cache each position that a run sees, once */
        int64_t seen = (int64_t)batch->runs[i].pos + batch->runs[i].n_rows;
        if (op->window > 0) seen = HYBRID__MIN(seen, (int64_t)op->window + batch->runs[i].n_rows - 1);
        bytes += (double)seen * hybrid__kv_bytes(op->kv);
    }
    return bytes;
}

/* ---- activations and experts ---- */

/* out = act(gate) * up, or act(gate) when up is NULL. n_rows rows of n values. */
typedef enum hybrid__act_kind { HYBRID__ACT_SILU, HYBRID__ACT_GELU_TANH, HYBRID__ACT_GELU } hybrid__act_kind;
typedef struct hybrid__op_glu {
    hybrid__act_kind act;
    const float *gate; int64_t gate_stride;
    const float *up; int64_t up_stride;
    int64_t n_rows, n;
    float *out; int64_t out_stride;     /* may be gate or up */
} hybrid__op_glu;
HYBRID__INLINE double hybrid__bytes_glu(const hybrid__op_glu *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->up ? 3 : 2);
}

/* Chooses experts for each row: ids (n, n_used), the largest of its n_expert logits, largest first, of equal ones the lower id; and weights
 * (n, n_used): SOFTMAX: of all logits, of which norm makes the chosen ones sum to 1; SIGMOID: of each logit alone. All times scale. Both read logits that are
 * NaN as the smallest. */
typedef enum hybrid__route_kind { HYBRID__ROUTE_SOFTMAX, HYBRID__ROUTE_SIGMOID } hybrid__route_kind;
enum { HYBRID__EXPERTS_MAX = 1024, HYBRID__EXPERTS_USED_MAX = 64 };
typedef struct hybrid__op_route {
    hybrid__route_kind kind;
    const float *logits;                /* (n, n_expert), no gaps */
    int      n, n_expert, n_used;       /* 1 <= n_used <= n_expert */
    bool     norm;
    float    scale;
    int32_t *ids;
    float   *weights;
} hybrid__op_route;
HYBRID__INLINE double hybrid__bytes_route(const hybrid__op_route *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 4.0 * op->n * (op->n_expert + 2 * op->n_used);
}

/* Products with the matrices of chosen experts, up to 2 that read the same rows: row r * n_used + s of y_i = W_i[ids[r][s]] . x, where x is row r, or
 * row r * n_used + s when each_own. W_i (out_i, k) of expert e lies at data + e * nb[2]; ne[2] = n_expert. */
typedef struct hybrid__op_experts {
    hybrid__form form;
    hybrid__rows rows;                  /* which rows of the batch r counts */
    const float *x; int64_t x_stride;
    const int32_t *ids;                 /* (n, n_used), in 0 .. n_expert - 1, of one row all different */
    int  n, n_used;
    bool each_own;
    int  n_out;
    struct { const hybrid__tensor *w; float *y; int64_t y_stride; } out[2];
} hybrid__op_experts;
HYBRID__INLINE double hybrid__bytes_experts(const hybrid__op_experts *op, const hybrid__batch *batch)
{
    const double choices = (double)op->n * op->n_used;
    double bytes = 0;
    int i;
    HYBRID__UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {                   /* as if the choices were as different as can be */
        const hybrid__tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * (op->each_own ? choices : op->n) * (double)w->ne[0];
        bytes += HYBRID__MIN(choices, (double)w->ne[2]) * (double)w->nb[2] + 4 * choices * (double)w->ne[1];
    }
    return bytes;
}

/* out (n, n_embd) = add + the sum over s of weights (n, n_used) [r][s] * x (n * n_used, n_embd) [r * n_used + s], in the order of s. Rows without
 * gaps. */
typedef struct hybrid__op_combine {
    const float *x, *weights, *add;
    int      n, n_used;
    int64_t  n_embd;
    float   *out;                       /* may be add */
} hybrid__op_combine;
HYBRID__INLINE double hybrid__bytes_combine(const hybrid__op_combine *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 4.0 * op->n * (double)op->n_embd * (op->n_used + 2);
}

/* ---- value by value ---- */

/* out = a + b */
typedef struct hybrid__op_add {
    const float *a, *b;
    int64_t n;
    float  *out;                        /* may be a or b */
} hybrid__op_add;
HYBRID__INLINE double hybrid__bytes_add(const hybrid__op_add *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 12.0 * (double)op->n;
}

/* out = x * factor */
typedef struct hybrid__op_scale {
    const float *x;
    float   factor;
    int64_t n;
    float  *out;                        /* may be x */
} hybrid__op_scale;
HYBRID__INLINE double hybrid__bytes_scale(const hybrid__op_scale *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 8.0 * (double)op->n;
}

/* out = cap * tanh(x / cap) */
typedef struct hybrid__op_softcap {
    const float *x;
    float   cap;
    int64_t n;
    float  *out;                        /* may be x */
} hybrid__op_softcap;
HYBRID__INLINE double hybrid__bytes_softcap(const hybrid__op_softcap *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 8.0 * (double)op->n;
}

/* ---- the largest logits ---- */

/* ids, values (n_rows, k): the k largest of each row of logits, the largest first, of equal ones the lower id; where there are fewer than k, id -1 and
 * -inf. stats (n_rows, 2): the maximum, and the sum of e^(x - maximum) over the row: NaN when the row holds a NaN. */
enum { HYBRID__TOP_K_MAX = 256 };
typedef struct hybrid__op_top_k {
    const float *logits; int64_t stride;
    int32_t  n_rows, n, k;              /* 1 <= k <= HYBRID__TOP_K_MAX; the first n logits of a row */
    int32_t *ids;
    float   *values, *stats;
} hybrid__op_top_k;
HYBRID__INLINE double hybrid__bytes_top_k(const hybrid__op_top_k *op, const hybrid__batch *batch)
{
    HYBRID__UNUSED(batch);
    return 4.0 * op->n_rows * ((double)op->n + 2 * op->k + 2);
}
