/* cuda/ops_rows: the ops over rows: embeddings, norms, rotations, activations, the writing of the cache, and the choice
 * of the largest logits. */
#ifndef HYB_CUDA_OPS_ROWS_C
#define HYB_CUDA_OPS_ROWS_C
#include "../compute/op.c"
#include "ops.c"

/* The kernels of the modules rows, rope, kv, select, train. */
/* clang-format off */
#define HYB_CUDA_KERNELS_ROWS(X) \
    X(norm_4) X(norm_1) X(glu_4) X(glu_1) X(values_4) X(values_1) X(combine_4) X(combine_1)
/* clang-format on */
#define HYB_CUDA_KERNELS_ROPE(X)   X(rope_table) X(rope)
#define HYB_CUDA_KERNELS_KV(X)     X(kv_store) X(heads)
#define HYB_CUDA_KERNELS_SELECT(X) X(top_k_chunk) X(top_k_row)
/* of rows and train, -DBACK */
#define HYB_CUDA_KERNELS_TRAIN(X) \
    X(norm_back) X(norm_back_w) X(glu_back) X(cross_entropy) X(squares) X(squares_sum) X(adamw) X(sgd) X(lerp) \
    X(round_values) X(round_rows) X(round_turned) \
    X(displace) X(adamw_displace) X(gram) X(gram_sum)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_ROWS(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_ROWS };
enum { HYB_CUDA_KERNELS_ROPE(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_ROPE };
enum { HYB_CUDA_KERNELS_KV(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_KV };
enum { HYB_CUDA_KERNELS_SELECT(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_SELECT };
enum { HYB_CUDA_KERNELS_TRAIN(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_TRAIN };
#undef HYB_KERNEL_NUMBER

static void hyb_cuda_op_embed(hyb_cuda_at *at, const hyb_op_embed *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    const void *table = op->table->data;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    int64_t row_bytes = (int64_t)op->table->nb[1], n = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n;
    int32_t k = (int32_t)op->table->ne[0];
    const float *add = op->add;
    float scale = op->scale, *out = op->out;
    bool blocks = hybrid_type_block_size(op->table->type) > 1;
    void *args[7];
    args[0] = &table;
    args[1] = &row_bytes;
    args[2] = &index;
    args[3] = &k;
    args[4] = &scale;
    args[5] = &add;
    args[6] = &out;
    hyb_cuda_launch3(at->q, hyb_cuda_embed_module((int)op->table->type), 0, hyb_div_up(k, blocks ? 32 * 64 : 256), n, 1,
                     64, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_embed_back(hyb_cuda_at *at, const hyb_op_embed_back *op)
{
    hyb_op_embed_back o = *op;
    const hyb_cuda_batch *batch = &at->batch;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    int32_t n = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n, n_embd = (int32_t)op->n_embd;
    void *args[6];
    args[0] = &o.dy;
    args[1] = &n;
    args[2] = &index;
    args[3] = &n_embd;
    args[4] = &o.scale;
    args[5] = &o.dtable;
    hyb_cuda_launch3(at->q, HYB_MODULE_EMBED_BACK, 0, n, hyb_div_up(n_embd, 1024), 1, 256, 1, 0, args);
}
#endif

static void hyb_cuda_op_norm(hyb_cuda_at *at, const hyb_op_norm *op)
{
    const bool by_4 = op->n % 4 == 0 && hyb_cuda_by_4(op->x, op->x_stride) && hyb_cuda_by_4(op->out, op->out_stride) &&
                      hyb_cuda_by_4(op->w, 0) && hyb_cuda_by_4(op->b, 0);
    const int64_t loads = hyb_div_up(op->n, by_4 ? 4 : 1), groups = op->n_rows * op->n_group;
    const unsigned threads = (unsigned)HYB_MIN(hyb_div_up(loads, 32) * 32, 1024);
    hyb_op_norm o = *op;
    int32_t n_rows = (int32_t)op->n_rows, n_group = (int32_t)op->n_group, n = (int32_t)op->n,
            layer = op->kind == HYB_NORM_LAYER;
    const int kernel = by_4 ? HYB_KERNEL_norm_4 : HYB_KERNEL_norm_1;
    void *args[11];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.out;
    args[3] = &o.out_stride;
    args[4] = &o.w;
    args[5] = &o.b;
    args[6] = &n_rows;
    args[7] = &n_group;
    args[8] = &n;
    args[9] = &o.eps;
    args[10] = &layer;
    /* a warp each */
    if (threads <= 128)
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, kernel, hyb_div_up(groups, 4), 1, 1, 32, 4, 0, args);
    else
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, kernel, groups, 1, 1, threads, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/rows.cu. */
typedef struct hyb_cuda_norm_back_args {
    const float *x, *dy, *w, *add;
    float *dx, *dw, *db, *stats;
    int64_t x_stride, dy_stride, dx_stride;
    int32_t n_rows, n_group, n, layer;
    float eps;
} hyb_cuda_norm_back_args;

static void hyb_cuda_norm_back_set(hyb_cuda_norm_back_args *a, const hyb_op_norm_back *op)
{
    memset(a, 0, sizeof *a);
    a->x = op->x;
    a->dy = op->dy;
    a->w = op->w;
    a->add = op->add;
    a->dx = op->dx;
    a->dw = op->dw;
    a->db = op->db;
    a->stats = op->stats;
    a->x_stride = op->x_stride;
    a->dy_stride = op->dy_stride;
    a->dx_stride = op->dx_stride;
    a->n_rows = (int32_t)op->n_rows;
    a->n_group = (int32_t)op->n_group;
    a->n = (int32_t)op->n;
    a->layer = op->kind == HYB_NORM_LAYER;
    a->eps = op->eps;
}

/* dw and db alone, from stats; without dw, sums of the rows of dy: what the gradient of a bias is. */
static void hyb_cuda_norm_back_w(hyb_cuda_at *at, const hyb_op_norm_back *op)
{
    hyb_cuda_norm_back_args a;
    void *args[1];
    hyb_cuda_norm_back_set(&a, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back_w, hyb_div_up(op->n, 32), 1, 1, 32, 32, 0, args);
}

/* sum (n) += the rows of dy. */
static void hyb_cuda_sum_rows(hyb_cuda_at *at, const float *dy, int64_t stride, int64_t rows, int64_t n, float *sum)
{
    hyb_op_norm_back op;
    memset(&op, 0, sizeof op);
    op.dy = dy;
    op.dy_stride = stride;
    op.n_rows = rows;
    op.n_group = 1;
    op.n = n;
    op.db = sum;
    hyb_cuda_norm_back_w(at, &op);
}

static void hyb_cuda_op_norm_back(hyb_cuda_at *at, const hyb_op_norm_back *op)
{
    const int64_t groups = op->n_rows * op->n_group;
    const unsigned threads = (unsigned)HYB_MIN(hyb_div_up(op->n, 32) * 32, 1024);
    hyb_cuda_norm_back_args a;
    void *args[1];
    hyb_cuda_norm_back_set(&a, op);
    args[0] = &a;
    /* a warp each */
    if (threads <= 128)
        hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back, hyb_div_up(groups, 4), 1, 1, 32, 4, 0, args);
    else
        hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back, groups, 1, 1, threads, 1, 0, args);
    if (op->dw || op->db) hyb_cuda_norm_back_w(at, op);
}
#endif

static void hyb_cuda_op_rope_table(hyb_cuda_at *at, const hyb_op_rope_table *op)
{
    hyb_op_rope_table o = *op;
    const int32_t *pos = at->batch.pos;
    int32_t half = op->n_rot / 2;
    void *args[5];
    args[0] = &pos;
    args[1] = &o.inv_freq;
    args[2] = &half;
    args[3] = &o.scale;
    args[4] = &o.table;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROPE, HYB_KERNEL_rope_table, hyb_div_up(half, 64), at->batch.n, 1, 64, 1, 0,
                     args);
}

static void hyb_cuda_op_rope(hyb_cuda_at *at, const hyb_op_rope *op)
{
    hyb_op_rope o = *op;
    int32_t half = op->n_rot / 2, neox = op->kind == HYB_ROPE_NEOX,
            each = op->x == op->out ? half : op->head_dim - half;
    void *args[10];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.out;
    args[3] = &o.out_stride;
    args[4] = &o.table;
    args[5] = &o.n_head;
    args[6] = &o.head_dim;
    args[7] = &half;
    args[8] = &neox;
    args[9] = &each;
    if (each < 1) return;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROPE, HYB_KERNEL_rope, hyb_div_up((int64_t)op->n_head * each, 128), op->n, 1,
                     128, 1, 0, args);
}

/* The numbers that kernels give the types of a cache. */
static int32_t hyb_cuda_kv_type(hybrid_type type)
{
    return type == HYBRID_TYPE_F16 ? 0 : type == HYBRID_TYPE_Q8_0 ? 1 : 2;
}

static void hyb_cuda_op_kv_store(hyb_cuda_at *at, const hyb_op_kv_store *op)
{
    hyb_cuda_batch b = at->batch;
    hyb_op_kv_store o = *op;
    hyb_kv_view kv = *op->kv;
    int64_t page_k = (int64_t)kv.page_bytes_k, page_v = (int64_t)kv.page_bytes_v;
    int32_t row_k = (int32_t)kv.row_bytes_k, row_v = (int32_t)kv.row_bytes_v, type = hyb_cuda_kv_type(kv.type);
    void *args[18];
    args[0] = &o.k;
    args[1] = &o.k_stride;
    args[2] = &o.v;
    args[3] = &o.v_stride;
    args[4] = &kv.k;
    args[5] = &kv.v;
    args[6] = &page_k;
    args[7] = &page_v;
    args[8] = &row_k;
    args[9] = &row_v;
    args[10] = &kv.n_head_kv;
    args[11] = &kv.head_dim_k;
    args[12] = &kv.head_dim_v;
    args[13] = &b.pos;
    args[14] = &b.run_of_row;
    args[15] = &b.pages;
    args[16] = &b.pages_a_seq;
    args[17] = &type;
    hyb_cuda_launch3(at->q, HYB_MODULE_KV, HYB_KERNEL_kv_store, 2 * (int64_t)kv.n_head_kv, b.n, 1, 128, 1, 0, args);
}

/* As in kernels/kv.cu. */
typedef struct hyb_cuda_heads_args {
    const float *q, *k, *v;
    float *q_out, *k_out;
    const float *q_norm, *k_norm, *table;
    char *k_cache, *v_cache;
    const int32_t *pos, *run_of_row, *pages;
    int64_t stride, out_stride, page_bytes_k, page_bytes_v;
    int32_t n_head, n_head_kv, dim_k, dim_v, row_bytes_k, row_bytes_v, pages_a_seq, type;
    int32_t half, neox, layer;
    float eps;
} hyb_cuda_heads_args;

/* False: heads of more than 256 values; nothing was done. */
static bool hyb_cuda_op_heads(hyb_cuda_at *at, const hyb_op_heads *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    const hyb_kv_view *kv = op->kv;
    hyb_cuda_heads_args a;
    void *args[1];
    if (kv->head_dim_k > 256 || kv->head_dim_v > 256) return false;
    memset(&a, 0, sizeof a);
    a.q = op->q;
    a.k = op->k;
    a.v = op->v;
    a.stride = op->stride;
    a.q_out = op->q_out;
    a.k_out = op->k_out;
    a.out_stride = op->out_stride;
    a.q_norm = op->q_norm;
    a.k_norm = op->k_norm;
    a.layer = op->norm == HYB_NORM_LAYER;
    a.eps = op->eps;
    a.table = op->table;
    a.half = op->n_rot / 2;
    a.neox = op->rope == HYB_ROPE_NEOX;
    a.k_cache = kv->k;
    a.page_bytes_k = (int64_t)kv->page_bytes_k;
    a.row_bytes_k = (int32_t)kv->row_bytes_k;
    a.dim_k = kv->head_dim_k;
    a.v_cache = kv->v;
    a.page_bytes_v = (int64_t)kv->page_bytes_v;
    a.row_bytes_v = (int32_t)kv->row_bytes_v;
    a.dim_v = kv->head_dim_v;
    a.n_head = op->n_head;
    a.n_head_kv = kv->n_head_kv;
    a.type = hyb_cuda_kv_type(kv->type);
    a.pos = batch->pos;
    a.run_of_row = batch->run_of_row;
    a.pages = batch->pages;
    a.pages_a_seq = batch->pages_a_seq;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_KV, HYB_KERNEL_heads,
                     hyb_div_up((int64_t)op->n_head + 2 * (int64_t)kv->n_head_kv, 4), batch->n, 1, 128, 1, 0, args);
    return true;
}

static void hyb_cuda_op_glu(hyb_cuda_at *at, const hyb_op_glu *op)
{
    const bool by_4 = op->n % 4 == 0 && hyb_cuda_by_4(op->gate, op->gate_stride) &&
                      hyb_cuda_by_4(op->out, op->out_stride) && hyb_cuda_by_4(op->up, op->up ? op->up_stride : 0);
    hyb_op_glu o = *op;
    int64_t first, rows;
    int32_t n = (int32_t)op->n, act = (int32_t)op->act;
    void *args[8];
    args[0] = &o.gate;
    args[1] = &o.gate_stride;
    args[2] = &o.up;
    args[3] = &o.up_stride;
    args[4] = &o.out;
    args[5] = &o.out_stride;
    args[6] = &n;
    args[7] = &act;
    /* experts have several rows for each of a batch; a grid has at most 65535 */
    for (first = 0; first < op->n_rows; first += rows) {
        rows = HYB_MIN(op->n_rows - first, 65535);
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_glu_4 : HYB_KERNEL_glu_1,
                         hyb_div_up(op->n, by_4 ? 1024 : 256), rows, 1, 256, 1, 0, args);
        o.gate += rows * o.gate_stride;
        o.out += rows * o.out_stride;
        if (o.up) o.up += rows * o.up_stride;
    }
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_glu_back(hyb_cuda_at *at, const hyb_op_glu_back *op)
{
    hyb_op_glu_back o = *op;
    int32_t n = (int32_t)op->n, act = (int32_t)op->act;
    void *args[9];
    args[0] = &o.gate;
    args[1] = &o.up;
    args[2] = &o.dout;
    args[3] = &o.dgate;
    args[4] = &o.dup;
    args[5] = &o.stride;
    args[6] = &o.dout_stride;
    args[7] = &n;
    args[8] = &act;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_glu_back, op->n_rows, hyb_div_up(n, 256), 1, 256, 1, 0, args);
}
#endif

/* x and y (NULL: none) to out. */
typedef enum hyb_cuda_values_kind { HYB_CUDA_ADD, HYB_CUDA_SCALE, HYB_CUDA_SOFTCAP } hyb_cuda_values_kind;
static void hyb_cuda_values(hyb_cuda_at *at, float *out, const float *x, const float *y, float factor, int64_t n,
                            hyb_cuda_values_kind which)
{
    const bool by_4 = n % 4 == 0 && hyb_cuda_by_4(out, 0) && hyb_cuda_by_4(x, 0) && hyb_cuda_by_4(y, 0);
    int32_t kind = (int32_t)which;
    void *args[6];
    args[0] = &out;
    args[1] = &x;
    args[2] = &y;
    args[3] = &factor;
    args[4] = &n;
    args[5] = &kind;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_values_4 : HYB_KERNEL_values_1,
                     hyb_div_up(n, by_4 ? 1024 : 256), 1, 1, 256, 1, 0, args);
}
static void hyb_cuda_op_add(hyb_cuda_at *at, const hyb_op_add *op)
{
    hyb_cuda_values(at, op->out, op->a, op->b, 0, op->n, HYB_CUDA_ADD);
}
static void hyb_cuda_op_scale(hyb_cuda_at *at, const hyb_op_scale *op)
{
    hyb_cuda_values(at, op->out, op->x, NULL, op->factor, op->n, HYB_CUDA_SCALE);
}
static void hyb_cuda_op_softcap(hyb_cuda_at *at, const hyb_op_softcap *op)
{
    hyb_cuda_values(at, op->out, op->x, NULL, op->cap, op->n, HYB_CUDA_SOFTCAP);
}

/* ---- the largest logits ------------------------------------------------------------------------------------------ */

enum { HYB_CUDA_TOP_K_CHUNK = 4096 };

static size_t hyb_cuda_top_k_bytes(int n_rows, int n_vocab, int k)
{
    return (size_t)n_rows * (size_t)hyb_div_up(n_vocab, HYB_CUDA_TOP_K_CHUNK) * (8 * (size_t)k + 8);
}

/* In hyb_cuda_top_k_bytes of the scratch. */
static void hyb_cuda_op_top_k(hyb_cuda_at *at, const hyb_op_top_k *op)
{
    hyb_op_top_k o = *op;
    int32_t n_chunks = (int32_t)hyb_div_up(op->n, HYB_CUDA_TOP_K_CHUNK);
    const int64_t each = (int64_t)op->n_rows * n_chunks * op->k;
    int32_t *keys = (int32_t *)(void *)at->scratch, *ids = keys + each;
    float *parts = (float *)(ids + each);
    void *args[10];
    args[0] = &o.logits;
    args[1] = &o.stride;
    args[2] = &o.n;
    args[3] = &o.k;
    args[4] = &keys;
    args[5] = &ids;
    args[6] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_SELECT, HYB_KERNEL_top_k_chunk, n_chunks, op->n_rows, 1, 256, 1, 0, args);
    args[2] = &n_chunks;
    args[7] = &o.ids;
    args[8] = &o.values;
    args[9] = &o.stats;
    hyb_cuda_launch3(at->q, HYB_MODULE_SELECT, HYB_KERNEL_top_k_row, op->n_rows, 1, 1, 1024, 1, 0, args);
}
#endif
