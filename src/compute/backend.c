/* compute/backend: the seam between models and devices: tensors, and one table of operations that every back end fills.
 *
 * Every pointer in an op is an address in the memory of the back end's device: it is computed with, but only the back end looks behind it.
 * Activations are float32 rows, contiguous inside a row, rows `stride` floats apart. Weights are tensors in the type of their file.
 * Calls are imperative and in order. A back end may defer them: what they made can be read after read() and sync(), and a call that fails
 * makes sync() fail. */

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

typedef struct hybrid__backend hybrid__backend;

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
    const hybrid__run *runs; int n_runs;
    const int32_t *out; int n_out;      /* rows whose logits are wanted, ascending */
} hybrid__batch;
typedef enum hybrid__index { HYBRID__INDEX_ID, HYBRID__INDEX_POS, HYBRID__INDEX_OUT } hybrid__index;

/* out (n, n_embd) = table[index] * scale (+ out, when add), for each id, position or wanted row of the batch */
typedef struct hybrid__op_embed {
    const hybrid__tensor *table;        /* (n_embd, n_vocab), any type; every index below n_vocab */
    hybrid__index index;
    float  scale;                       /* 1 for none */
    bool   add;
    float *out;
} hybrid__op_embed;

/* RMS:   out = x / sqrt(mean(x^2) + eps) * w          Layer: out = (x - mean) / sqrt(var + eps) * w + b   (var is biased)
 * n_rows rows of n_group groups of n values; groups are n apart, and each is normed alone. w, b (n) may be NULL (1 and 0). out may be x. */
typedef enum hybrid__norm_kind { HYBRID__NORM_RMS, HYBRID__NORM_LAYER } hybrid__norm_kind;
typedef struct hybrid__op_norm {
    hybrid__norm_kind kind;
    const float *x; int64_t x_stride;
    float *out; int64_t out_stride;
    const float *w, *b;
    int64_t n_rows, n_group, n;
    float   eps;
} hybrid__op_norm;

/* Up to 4 matrices that read the same rows: y_i (n, out_i) = x (n, k) . W_i (out_i, k)^T + bias_i, or y_i += that. */
typedef struct hybrid__matmul_out {
    const hybrid__tensor *w;            /* ne[0] = k, ne[1] = out */
    const float *bias;                  /* out values, or NULL */
    float  *y; int64_t y_stride;
    bool    add;                        /* y += instead of y = */
} hybrid__matmul_out;
typedef struct hybrid__op_matmul {
    const float *x; int64_t x_stride;
    int n;
    int n_out;
    hybrid__matmul_out out[4];
} hybrid__op_matmul;

/* table (n, n_rot/2, 2) = cos and sin of pos * inv_freq for every row of the batch, times scale. Angles are double. */
typedef struct hybrid__op_rope_table {
    const double *inv_freq;             /* n_rot/2 */
    int    n_rot;
    float  scale;
    float *table;
} hybrid__op_rope_table;

/* Rotates the first n_rot values of each head: NORM pairs (2i, 2i+1), NEOX pairs (i, i + n_rot/2). In place. */
typedef enum hybrid__rope_kind { HYBRID__ROPE_NORM, HYBRID__ROPE_NEOX } hybrid__rope_kind;
typedef struct hybrid__op_rope {
    hybrid__rope_kind kind;
    float *x; int64_t x_stride;
    int    n, n_head, head_dim, n_rot;
    const float *table;
} hybrid__op_rope;

/* One layer's cache. K: page p, kv head h, slot s, at k + p * page_bytes_k + (h * HYBRID__PAGE + s) * row_bytes_k; V alike. A row is
 * head_dim values of `type` (F16, Q8_0, F32; Q8_0 needs head_dim % 32 == 0). */
typedef struct hybrid__kv_view {
    hybrid_type type;
    char   *k, *v;
    size_t  page_bytes_k, page_bytes_v, row_bytes_k, row_bytes_v;
    int     n_head_kv, head_dim_k, head_dim_v;
} hybrid__kv_view;

/* Writes the k and v rows of a batch into the cache. */
typedef struct hybrid__op_kv_store {
    const hybrid__kv_view *kv;
    const float *k; int64_t k_stride;
    const float *v; int64_t v_stride;
} hybrid__op_kv_store;

/* What happens to heads between the products and attention: norm of each head of q and k, rotation of both in place, writing of k and v into the cache.
 * The same as norm, norm, rope, rope, kv_store with these fields (hybrid__heads_in_parts), where a back end does it in one go to the last place or two. */
typedef struct hybrid__op_heads {
    const hybrid__kv_view *kv;
    float *q, *k; const float *v; int64_t stride;      /* of all three; n rows */
    int    n, n_head;
    const float *q_norm, *k_norm;                      /* head_dim_k weights, or NULL: no norm */
    hybrid__norm_kind norm; float eps;
    hybrid__rope_kind rope;
    const float *table; int n_rot;                     /* of rope_table; 0: no rotation */
} hybrid__op_heads;

/* out (n, n_head * head_dim_v): causal attention of each row over its sequence's cache (its own position included, already stored).
 * s = q.k * scale; soft-cap: s = cap * tanh(s / cap); window > 0: only positions > pos - window; sinks (n_head): exp(sink - max) joins the
 * denominator. Query head h reads kv head h / (n_head / n_head_kv). */
typedef struct hybrid__op_attention {
    const hybrid__kv_view *kv;
    const float *q; int64_t q_stride;
    float *out; int64_t out_stride;
    int    n_head;
    float  scale, softcap;              /* softcap 0: none */
    int32_t window;
    const float *sinks;
} hybrid__op_attention;

/* out = act(gate) * up, or act(gate) when up is NULL. n_rows rows of n values. out may be gate or up. */
typedef enum hybrid__act_kind { HYBRID__ACT_SILU, HYBRID__ACT_GELU_TANH, HYBRID__ACT_GELU } hybrid__act_kind;
typedef struct hybrid__op_glu {
    hybrid__act_kind act;
    const float *gate; int64_t gate_stride;
    const float *up; int64_t up_stride;
    float *out; int64_t out_stride;
    int64_t n_rows, n;
} hybrid__op_glu;

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

/* Products with the matrices of chosen experts, up to 2 that read the same rows: row r * n_used + s of y_i = W_i[ids[r][s]] . x, where x is row r, or
 * row r * n_used + s when each_own. W_i (out_i, k) of expert e lies at data + e * nb[2]; ne[2] = n_expert. */
typedef struct hybrid__op_experts {
    const float *x; int64_t x_stride;
    const int32_t *ids;                 /* (n, n_used), in 0 .. n_expert - 1, of one row all different */
    int  n, n_used;
    bool each_own;
    int  n_out;
    struct { const hybrid__tensor *w; float *y; int64_t y_stride; } out[2];
} hybrid__op_experts;

/* y (n, n_embd) += sum over s of weights (n, n_used) [r][s] * x (n * n_used, n_embd) [r * n_used + s], in the order of s. Rows without gaps. */
typedef struct hybrid__op_combine {
    const float *x, *weights;
    int      n, n_used;
    int64_t  n_embd;
    float   *y;
} hybrid__op_combine;

/* ids, values (n_rows, k): the k largest of each row of logits, the largest first, of equal ones the lower id; where there are fewer than k, id -1 and
 * -inf. stats (n_rows, 2): the maximum, and the sum of e^(x - maximum) over the row: NaN when the row holds a NaN. */
enum { HYBRID__TOP_K_MAX = 256 };
typedef struct hybrid__op_top_k {
    const float *logits; int64_t stride;
    int32_t  n_rows, n, k;              /* 1 <= k <= HYBRID__TOP_K_MAX; the first n logits of a row */
    int32_t *ids;
    float   *values, *stats;
} hybrid__op_top_k;

/* How a pass goes on: its ops are called and run; or called and recorded, to be run at its end; or left out, since a record of an earlier pass over
 * a batch of the same shape is run at its end. Who records goes on to pass_end before anything of the host's can run: a device that is being recorded
 * refuses much of what others of the process may ask of it. */
typedef enum hybrid__pass { HYBRID__PASS_RUN, HYBRID__PASS_RECORD, HYBRID__PASS_REPLAY } hybrid__pass;

typedef struct hybrid__backend_ops {
    const char *name;
    void (*begin)(hybrid__backend *be, const hybrid__batch *batch);                             /* the batch of the ops that follow */
    hybrid__pass (*pass_begin)(hybrid__backend *be);        /* the ops up to pass_end are the same, with the same addresses, for every batch of this shape */
    bool (*pass_end)(hybrid__backend *be);                  /* false: what was recorded cannot be run; call the ops again, without pass_begin */
    void (*embed)(hybrid__backend *be, const hybrid__op_embed *op);
    void (*norm)(hybrid__backend *be, const hybrid__op_norm *op);
    void (*matmul)(hybrid__backend *be, const hybrid__op_matmul *op);
    void (*rope_table)(hybrid__backend *be, const hybrid__op_rope_table *op);
    void (*rope)(hybrid__backend *be, const hybrid__op_rope *op);
    void (*kv_store)(hybrid__backend *be, const hybrid__op_kv_store *op);
    void (*heads)(hybrid__backend *be, const hybrid__op_heads *op);
    void (*attention)(hybrid__backend *be, const hybrid__op_attention *op);
    void (*glu)(hybrid__backend *be, const hybrid__op_glu *op);
    void (*route)(hybrid__backend *be, const hybrid__op_route *op);
    void (*experts)(hybrid__backend *be, const hybrid__op_experts *op);
    void (*combine)(hybrid__backend *be, const hybrid__op_combine *op);
    void (*add)(hybrid__backend *be, float *y, const float *x, int64_t n);                      /* y += x */
    void (*scale)(hybrid__backend *be, float *y, float factor, int64_t n);                      /* y *= factor */
    void (*softcap)(hybrid__backend *be, float *y, float cap, int64_t n);                       /* y = cap * tanh(y / cap) */
    void (*top_k)(hybrid__backend *be, const hybrid__op_top_k *op);
    void (*copy)(hybrid__backend *be, void *dst, const void *src, size_t bytes);                /* within the device */
    void (*write)(hybrid__backend *be, void *dst, const void *host, size_t bytes);              /* host may change on return */
    void (*read)(hybrid__backend *be, void *host, const void *src, size_t bytes);               /* host is filled after sync */
    void (*rehearse)(hybrid__backend *be, bool on);         /* while on, ops and copies only make ready what they need, and touch nothing */
    hybrid_result (*sync)(hybrid__backend *be, hybrid_error *error);
    void (*destroy)(hybrid__backend *be);
} hybrid__backend_ops;

struct hybrid__backend {
    const hybrid__backend_ops *ops;
    hybrid_runtime *rt;
    const hybrid__batch *batch;         /* of begin */
};

static void hybrid__heads_norm(hybrid__backend *be, const hybrid__op_heads *op, float *x, int n_head, const float *w)
{
    hybrid__op_norm norm;
    if (!w) return;
    norm.kind = op->norm; norm.eps = op->eps;
    norm.w = w; norm.b = NULL;
    norm.x = norm.out = x; norm.x_stride = norm.out_stride = op->stride;
    norm.n_rows = op->n; norm.n_group = n_head; norm.n = op->kv->head_dim_k;
    be->ops->norm(be, &norm);
}
static void hybrid__heads_rope(hybrid__backend *be, const hybrid__op_heads *op, float *x, int n_head)
{
    hybrid__op_rope rope;
    if (!op->n_rot) return;
    rope.kind = op->rope; rope.table = op->table; rope.n_rot = op->n_rot;
    rope.x = x; rope.x_stride = op->stride;
    rope.n = op->n; rope.n_head = n_head; rope.head_dim = op->kv->head_dim_k;
    be->ops->rope(be, &rope);
}

/* The op heads by the ops that it stands for. */
static void hybrid__heads_in_parts(hybrid__backend *be, const hybrid__op_heads *op)
{
    hybrid__op_kv_store store;
    hybrid__heads_norm(be, op, op->q, op->n_head, op->q_norm);
    hybrid__heads_norm(be, op, op->k, op->kv->n_head_kv, op->k_norm);
    hybrid__heads_rope(be, op, op->q, op->n_head);
    hybrid__heads_rope(be, op, op->k, op->kv->n_head_kv);
    store.kv = op->kv;
    store.k = op->k; store.v = op->v; store.k_stride = store.v_stride = op->stride;
    be->ops->kv_store(be, &store);
}

/* ---- devices ---- */

enum { HYBRID__LIMIT_FORMATS = 8 };        /* distinct formats of activations that the matrices of one model may ask the CPU for */

/* What a context will ask of its back end, so that all its memory is known beforehand. Zero it, set the sizes, then show it every matrix. */
typedef struct hybrid__limits {
    int     n_rows, n_out;                 /* rows of the largest batch; rows of logits of one */
    int     n_seq, pages_a_seq;            /* sequences, entries of a page table */
    int     n_vocab, n_top;                /* top_k: logits of a row, and k; 0: it is not asked for */
    int     n_head, n_head_kv, head_dim_k, head_dim_v;                             /* 0 without attention */
    int     n_expert_used;                 /* experts that a row chooses; 0: there are none. Matrices of experts have ne[2] > 1 */
    /* filled by the device's show() */
    size_t  scratch;                       /* GPU: bytes of scratch of the largest op */
    const void *format[HYBRID__LIMIT_FORMATS];         /* CPU: formats of prepared rows */
    size_t  format_bytes[HYBRID__LIMIT_FORMATS];
    size_t  lanes_bytes, experts_bytes;
    int     n_formats;
} hybrid__limits;

/* A place with memory where back ends run: the host, or a GPU. Shared by all contexts; every call from any thread. */
typedef struct hybrid__device_ops {
    bool is_host;                          /* its addresses are plain pointers */
    hybrid_result (*alloc)(hybrid__device *device, size_t bytes, void **address, hybrid_error *error);
    void (*free)(hybrid__device *device, void *address);
    uint64_t (*cost)(hybrid__device *device, size_t bytes);      /* what alloc takes for that */
    bool (*fits)(hybrid__device *device, uint64_t bytes);        /* there is room for that, with a margin for others */
    hybrid_result (*write)(hybrid__device *device, void *dst, const void *host, size_t bytes, hybrid_error *error);    /* host may change on return */
    hybrid_result (*flush)(hybrid__device *device, hybrid_error *error);               /* what was written has arrived */
    bool (*attends)(hybrid__device *device, const hybrid__limits *limits);             /* there is a kernel for heads of these sizes */
    bool (*show)(hybrid__device *device, hybrid__limits *limits, const hybrid__tensor *w);     /* notes a matrix; false: no kernel for its type */
    uint64_t (*backend_cost)(hybrid__device *device, const hybrid__limits *limits);
    hybrid_result (*backend_create)(hybrid__device *device, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error);
} hybrid__device_ops;

struct hybrid__device {
    const hybrid__device_ops *ops;
    hybrid_runtime *rt;
};
