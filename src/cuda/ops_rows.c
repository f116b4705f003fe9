/* cuda/ops_rows: the ops over rows: embeddings, norms, rotations, activations, the writing of the cache, and the choice of the largest logits.
 */

/* The kernels of the modules rows, rope, kv, select. */
#define HYBRID__CUDA_KERNELS_ROWS(X) X(norm_4) X(norm_1) X(glu_4) X(glu_1) X(values_4) X(values_1) X(combine_4) X(combine_1)
#define HYBRID__CUDA_KERNELS_ROPE(X) X(rope_table) X(rope)
#define HYBRID__CUDA_KERNELS_KV(X) X(kv_store) X(heads)
#define HYBRID__CUDA_KERNELS_SELECT(X) X(top_k_chunk) X(top_k_row)
#define HYBRID__KERNEL_NUMBER(name_) HYBRID__KERNEL_##name_,
enum { HYBRID__CUDA_KERNELS_ROWS(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_ROWS };
enum { HYBRID__CUDA_KERNELS_ROPE(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_ROPE };
enum { HYBRID__CUDA_KERNELS_KV(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_KV };
enum { HYBRID__CUDA_KERNELS_SELECT(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_SELECT };
#undef HYBRID__KERNEL_NUMBER

static void hybrid__cuda_op_embed(hybrid__cuda_at *at, const hybrid__op_embed *op)
{
    const hybrid__cuda_batch *batch = &at->batch;
    const void *table = op->table->data;
    const int32_t *index = op->index == HYBRID__INDEX_ID ? batch->ids : op->index == HYBRID__INDEX_POS ? batch->pos : batch->out;
    int64_t row_bytes = (int64_t)op->table->nb[1], n = op->index == HYBRID__INDEX_OUT ? batch->n_out : batch->n;
    int32_t k = (int32_t)op->table->ne[0];
    const float *add = op->add;
    float scale = op->scale, *out = op->out;
    bool blocks = hybrid_type_block_size(op->table->type) > 1;
    void *args[7];
    args[0] = &table; args[1] = &row_bytes; args[2] = &index; args[3] = &k; args[4] = &scale; args[5] = &add; args[6] = &out;
    hybrid__cuda_launch3(at->q, hybrid__cuda_embed_module((int)op->table->type), 0, hybrid__div_up(k, blocks ? 32 * 64 : 256), n, 1, 64, 1, 0, args);
}

static void hybrid__cuda_op_norm(hybrid__cuda_at *at, const hybrid__op_norm *op)
{
    const bool by_4 = op->n % 4 == 0 && hybrid__cuda_by_4(op->x, op->x_stride) && hybrid__cuda_by_4(op->out, op->out_stride)
                      && hybrid__cuda_by_4(op->w, 0) && hybrid__cuda_by_4(op->b, 0);
    const int64_t loads = hybrid__div_up(op->n, by_4 ? 4 : 1), groups = op->n_rows * op->n_group;
    const unsigned threads = (unsigned)HYBRID__MIN(hybrid__div_up(loads, 32) * 32, 1024);
    hybrid__op_norm o = *op;
    int32_t n_rows = (int32_t)op->n_rows, n_group = (int32_t)op->n_group, n = (int32_t)op->n, layer = op->kind == HYBRID__NORM_LAYER;
    const int kernel = by_4 ? HYBRID__KERNEL_norm_4 : HYBRID__KERNEL_norm_1;
    void *args[11];
    args[0] = &o.x; args[1] = &o.x_stride; args[2] = &o.out; args[3] = &o.out_stride; args[4] = &o.w; args[5] = &o.b;
    args[6] = &n_rows; args[7] = &n_group; args[8] = &n; args[9] = &o.eps; args[10] = &layer;
    if (threads <= 128) hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROWS, kernel, hybrid__div_up(groups, 4), 1, 1, 32, 4, 0, args);  /* a warp each */
    else hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROWS, kernel, groups, 1, 1, threads, 1, 0, args);
}

static void hybrid__cuda_op_rope_table(hybrid__cuda_at *at, const hybrid__op_rope_table *op)
{
    hybrid__op_rope_table o = *op;
    const int32_t *pos = at->batch.pos;
    int32_t half = op->n_rot / 2;
    void *args[5];
    args[0] = &pos; args[1] = &o.inv_freq; args[2] = &half; args[3] = &o.scale; args[4] = &o.table;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROPE, HYBRID__KERNEL_rope_table, hybrid__div_up(half, 64), at->batch.n, 1, 64, 1, 0, args);
}

static void hybrid__cuda_op_rope(hybrid__cuda_at *at, const hybrid__op_rope *op)
{
    hybrid__op_rope o = *op;
    int32_t half = op->n_rot / 2, neox = op->kind == HYBRID__ROPE_NEOX, each = op->x == op->out ? half : op->head_dim - half;
    void *args[10];
    args[0] = &o.x; args[1] = &o.x_stride; args[2] = &o.out; args[3] = &o.out_stride; args[4] = &o.table;
    args[5] = &o.n_head; args[6] = &o.head_dim; args[7] = &half; args[8] = &neox; args[9] = &each;
    if (each < 1) return;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROPE, HYBRID__KERNEL_rope, hybrid__div_up((int64_t)op->n_head * each, 128), op->n, 1, 128, 1, 0, args);
}

/* The numbers that kernels give the types of a cache. */
static int32_t hybrid__cuda_kv_type(hybrid_type type) { return type == HYBRID_TYPE_F16 ? 0 : type == HYBRID_TYPE_Q8_0 ? 1 : 2; }

static void hybrid__cuda_op_kv_store(hybrid__cuda_at *at, const hybrid__op_kv_store *op)
{
    hybrid__cuda_batch b = at->batch;
    hybrid__op_kv_store o = *op;
    hybrid__kv_view kv = *op->kv;
    int64_t page_k = (int64_t)kv.page_bytes_k, page_v = (int64_t)kv.page_bytes_v;
    int32_t row_k = (int32_t)kv.row_bytes_k, row_v = (int32_t)kv.row_bytes_v, type = hybrid__cuda_kv_type(kv.type);
    void *args[18];
    args[0] = &o.k; args[1] = &o.k_stride; args[2] = &o.v; args[3] = &o.v_stride; args[4] = &kv.k; args[5] = &kv.v;
    args[6] = &page_k; args[7] = &page_v; args[8] = &row_k; args[9] = &row_v;
    args[10] = &kv.n_head_kv; args[11] = &kv.head_dim_k; args[12] = &kv.head_dim_v;
    args[13] = &b.pos; args[14] = &b.run_of_row; args[15] = &b.pages; args[16] = &b.pages_a_seq; args[17] = &type;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_KV, HYBRID__KERNEL_kv_store, 2 * (int64_t)kv.n_head_kv, b.n, 1, 128, 1, 0, args);
}

/* As in kernels/kv.cu. */
typedef struct hybrid__cuda_heads_args {
    const float *q, *k, *v;
    float *q_out, *k_out;
    const float *q_norm, *k_norm, *table;
    char *k_cache, *v_cache;
    const int32_t *pos, *run_of_row, *pages;
    int64_t stride, out_stride, page_bytes_k, page_bytes_v;
    int32_t n_head, n_head_kv, dim_k, dim_v, row_bytes_k, row_bytes_v, pages_a_seq, type;
    int32_t half, neox, layer;
    float   eps;
} hybrid__cuda_heads_args;

/* False: heads of more than 256 values; nothing was done. */
static bool hybrid__cuda_op_heads(hybrid__cuda_at *at, const hybrid__op_heads *op)
{
    const hybrid__cuda_batch *batch = &at->batch;
    const hybrid__kv_view *kv = op->kv;
    hybrid__cuda_heads_args a;
    void *args[1];
    if (kv->head_dim_k > 256 || kv->head_dim_v > 256) return false;
    memset(&a, 0, sizeof a);
    a.q = op->q; a.k = op->k; a.v = op->v; a.stride = op->stride;
    a.q_out = op->q_out; a.k_out = op->k_out; a.out_stride = op->out_stride;
    a.q_norm = op->q_norm; a.k_norm = op->k_norm; a.layer = op->norm == HYBRID__NORM_LAYER; a.eps = op->eps;
    a.table = op->table; a.half = op->n_rot / 2; a.neox = op->rope == HYBRID__ROPE_NEOX;
    a.k_cache = kv->k; a.page_bytes_k = (int64_t)kv->page_bytes_k; a.row_bytes_k = (int32_t)kv->row_bytes_k; a.dim_k = kv->head_dim_k;
    a.v_cache = kv->v; a.page_bytes_v = (int64_t)kv->page_bytes_v; a.row_bytes_v = (int32_t)kv->row_bytes_v; a.dim_v = kv->head_dim_v;
    a.n_head = op->n_head; a.n_head_kv = kv->n_head_kv; a.type = hybrid__cuda_kv_type(kv->type);
    a.pos = batch->pos; a.run_of_row = batch->run_of_row; a.pages = batch->pages; a.pages_a_seq = batch->pages_a_seq;
    args[0] = &a;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_KV, HYBRID__KERNEL_heads, hybrid__div_up((int64_t)op->n_head + 2 * (int64_t)kv->n_head_kv, 4), batch->n, 1, 128, 1, 0, args);
    return true;
}

static void hybrid__cuda_op_glu(hybrid__cuda_at *at, const hybrid__op_glu *op)
{
    const bool by_4 = op->n % 4 == 0 && hybrid__cuda_by_4(op->gate, op->gate_stride) && hybrid__cuda_by_4(op->out, op->out_stride)
                      && hybrid__cuda_by_4(op->up, op->up ? op->up_stride : 0);
    hybrid__op_glu o = *op;
    int64_t first, rows;
    int32_t n = (int32_t)op->n, act = op->act == HYBRID__ACT_SILU ? 0 : op->act == HYBRID__ACT_GELU_TANH ? 1 : 2;
    void *args[8];
    args[0] = &o.gate; args[1] = &o.gate_stride; args[2] = &o.up; args[3] = &o.up_stride; args[4] = &o.out; args[5] = &o.out_stride; args[6] = &n; args[7] = &act;
    for (first = 0; first < op->n_rows; first += rows) {        /* experts have several rows for each of a batch; a grid has at most 65535 */
        rows = HYBRID__MIN(op->n_rows - first, 65535);
        hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROWS, by_4 ? HYBRID__KERNEL_glu_4 : HYBRID__KERNEL_glu_1, hybrid__div_up(op->n, by_4 ? 1024 : 256), rows, 1, 256, 1, 0, args);
        o.gate += rows * o.gate_stride; o.out += rows * o.out_stride;
        if (o.up) o.up += rows * o.up_stride;
    }
}

/* x and y (NULL: none) to out. */
typedef enum hybrid__cuda_values_kind { HYBRID__CUDA_ADD, HYBRID__CUDA_SCALE, HYBRID__CUDA_SOFTCAP } hybrid__cuda_values_kind;
static void hybrid__cuda_values(hybrid__cuda_at *at, float *out, const float *x, const float *y, float factor, int64_t n, hybrid__cuda_values_kind which)
{
    const bool by_4 = n % 4 == 0 && hybrid__cuda_by_4(out, 0) && hybrid__cuda_by_4(x, 0) && hybrid__cuda_by_4(y, 0);
    int32_t kind = (int32_t)which;
    void *args[6];
    args[0] = &out; args[1] = &x; args[2] = &y; args[3] = &factor; args[4] = &n; args[5] = &kind;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROWS, by_4 ? HYBRID__KERNEL_values_4 : HYBRID__KERNEL_values_1, hybrid__div_up(n, by_4 ? 1024 : 256), 1, 1, 256, 1, 0, args);
}
static void hybrid__cuda_op_add(hybrid__cuda_at *at, const hybrid__op_add *op) { hybrid__cuda_values(at, op->out, op->a, op->b, 0, op->n, HYBRID__CUDA_ADD); }
static void hybrid__cuda_op_scale(hybrid__cuda_at *at, const hybrid__op_scale *op)
{
    hybrid__cuda_values(at, op->out, op->x, NULL, op->factor, op->n, HYBRID__CUDA_SCALE);
}
static void hybrid__cuda_op_softcap(hybrid__cuda_at *at, const hybrid__op_softcap *op)
{
    hybrid__cuda_values(at, op->out, op->x, NULL, op->cap, op->n, HYBRID__CUDA_SOFTCAP);
}

/* ---- the largest logits --------------------------------------------------------------------------------------------- */

enum { HYBRID__CUDA_TOP_K_CHUNK = 4096 };

static size_t hybrid__cuda_top_k_bytes(int n_rows, int n_vocab, int k)
{
    return (size_t)n_rows * (size_t)hybrid__div_up(n_vocab, HYBRID__CUDA_TOP_K_CHUNK) * (8 * (size_t)k + 8);
}

/* In hybrid__cuda_top_k_bytes of the scratch. */
static void hybrid__cuda_op_top_k(hybrid__cuda_at *at, const hybrid__op_top_k *op)
{
    hybrid__op_top_k o = *op;
    int32_t n_chunks = (int32_t)hybrid__div_up(op->n, HYBRID__CUDA_TOP_K_CHUNK);
    const int64_t each = (int64_t)op->n_rows * n_chunks * op->k;
    int32_t *keys = (int32_t *)(void *)at->scratch, *ids = keys + each;
    float *parts = (float *)(ids + each);
    void *args[10];
    args[0] = &o.logits; args[1] = &o.stride; args[2] = &o.n; args[3] = &o.k; args[4] = &keys; args[5] = &ids; args[6] = &parts;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_SELECT, HYBRID__KERNEL_top_k_chunk, n_chunks, op->n_rows, 1, 256, 1, 0, args);
    args[2] = &n_chunks; args[7] = &o.ids; args[8] = &o.values; args[9] = &o.stats;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_SELECT, HYBRID__KERNEL_top_k_row, op->n_rows, 1, 1, 1024, 1, 0, args);
}
