/* cuda/ops_attention: which kernel of attention takes which rows.
 *
 * Rows of short runs (decoding, above all) are split: blocks share the cache of a row, and the last one joins their
 * parts. Long runs go in tiles. F16 and Q8_0 caches of the usual head sizes go to tensor cores, the rest to
 * attention_any in float32. */
#ifndef HYB_CUDA_OPS_ATTENTION_C
#define HYB_CUDA_OPS_ATTENTION_C
#include "ops_rows.c"

enum { HYB_CUDA_TILE = 64, HYB_CUDA_SPLIT_PAGES = 4, HYB_CUDA_SPLIT_MAX = 64 };

/* How a context splits; fixed for its life, so that results depend on a row's own sequence alone. */
typedef struct hyb_cuda_split {
    int few; /* runs of at most so many rows are split */
    int max_rows, max_splits;
} hyb_cuda_split;

static hyb_cuda_split hyb_cuda_split_plan(int n_seq, int n_rows, int n_head_kv, int max_length)
{
    const int pages = (max_length + HYB_PAGE - 1) / HYB_PAGE;
    hyb_cuda_split s;
    s.few = HYB_MAX(HYB_MIN(64 / n_seq, 8), 1);
    s.max_rows = (int)HYB_MAX(HYB_MIN((int64_t)n_seq * s.few, n_rows), 1);
    /* 256 blocks keep any GPU busy */
    s.max_splits = HYB_MAX(HYB_MIN(2048 / s.max_rows, 256 / HYB_MAX(n_head_kv, 1)), 8);
    s.max_splits = HYB_MIN(s.max_splits, (int)HYB_CUDA_SPLIT_MAX);
    s.max_splits = HYB_MIN(s.max_splits, (pages + HYB_CUDA_SPLIT_PAGES - 1) / HYB_CUDA_SPLIT_PAGES);
    return s;
}

/* How many counters of blocks stand before the parts. */
static size_t hyb_cuda_done_count(int max_rows, int n_head) { return hyb_align((size_t)max_rows * (size_t)n_head, 64); }

/* Bytes of hyb_cuda_batch.parts. They must be zero before the first use. */
static size_t hyb_cuda_split_bytes(const hyb_cuda_split *s, int n_head, int head_dim_v)
{
    const size_t parts =
        (size_t)s->max_rows * (size_t)n_head * (size_t)s->max_splits * (4 + hyb_align((size_t)head_dim_v, 64));
    return (hyb_cuda_done_count(s->max_rows, n_head) + parts) * sizeof(float);
}

/* Tiles of a batch of n_rows rows in n_runs runs, at most. */
static size_t hyb_cuda_tiles_max(int n_rows, int n_runs) { return (size_t)n_rows / HYB_CUDA_TILE + (size_t)n_runs; }

/* For begin(): fills the host's copies of run_of_row (n), tiles, split_rows and runs, and the numbers of b. */
static void hyb_cuda_batch_fill(hyb_cuda_batch *b, const hyb_cuda_split *s, const hyb_batch *batch, int32_t *run_of_row,
                                int32_t *tiles, int32_t *split_rows, int32_t *runs)
{
    int32_t i, r, length = 0;
    b->n = batch->n;
    b->n_out = batch->n_out;
    b->n_runs = batch->n_runs;
    b->n_tiles = b->n_split = 0;
    b->max_splits = s->max_splits;
    b->max_rows = s->max_rows;
    for (i = 0; i < batch->n_runs; i++) {
        const hyb_run *run = &batch->runs[i];
        runs[4 * i] = run->first_row;
        runs[4 * i + 1] = run->n_rows;
        runs[4 * i + 2] = run->slot_in;
        runs[4 * i + 3] = run->slot_out;
        length = HYB_MAX(length, run->pos + run->n_rows);
        for (r = 0; r < run->n_rows; r++) run_of_row[run->first_row + r] = i;
        if (run->n_rows <= s->few && b->n_split + run->n_rows <= s->max_rows)
            for (r = 0; r < run->n_rows; r++) split_rows[b->n_split++] = run->first_row + r;
        else
            for (r = 0; r < run->n_rows; r += HYB_CUDA_TILE, tiles += 4, b->n_tiles++) {
                tiles[0] = run->first_row + r;
                tiles[1] = HYB_MIN(run->n_rows - r, (int32_t)HYB_CUDA_TILE);
                tiles[2] = i;
                tiles[3] = 0;
            }
    }
    for (b->max_length_class = 256; b->max_length_class < length && b->max_length_class < 1 << 30;
         b->max_length_class *= 2) {}
}

/* As in kernels/attention_args.cu. */
typedef struct hyb_cuda_attention_args {
    const float *q;
    float *out;
    const char *k, *v;
    const float *sinks;
    float *parts;
    int32_t *done;
    const int32_t *pos, *run_of_row, *pages, *rows;
    int64_t q_stride, out_stride, page_bytes_k, page_bytes_v;
    int32_t n_head, n_head_kv, pages_a_seq, window, max_splits;
    float scale, softcap;
    int32_t head_dim_k, head_dim_v, row_bytes_k, row_bytes_v, type, split;
} hyb_cuda_attention_args;

static void hyb_cuda_attention_set(hyb_cuda_attention_args *a, const hyb_cuda_batch *batch, const hyb_op_attention *op)
{
    const hyb_kv_view *kv = op->kv;
    memset(a, 0, sizeof *a);
    a->q = op->q;
    a->q_stride = op->q_stride;
    a->out = op->out;
    a->out_stride = op->out_stride;
    a->k = kv->k;
    a->page_bytes_k = (int64_t)kv->page_bytes_k;
    a->row_bytes_k = (int32_t)kv->row_bytes_k;
    a->head_dim_k = kv->head_dim_k;
    a->v = kv->v;
    a->page_bytes_v = (int64_t)kv->page_bytes_v;
    a->row_bytes_v = (int32_t)kv->row_bytes_v;
    a->head_dim_v = kv->head_dim_v;
    a->type = hyb_cuda_kv_type(kv->type);
    a->n_head = op->n_head;
    a->n_head_kv = kv->n_head_kv;
    a->scale = op->scale;
    a->softcap = op->softcap;
    a->window = op->window;
    a->sinks = op->sinks;
    a->pos = batch->pos;
    a->run_of_row = batch->run_of_row;
    a->pages = batch->pages;
    a->pages_a_seq = batch->pages_a_seq;
    a->done = (int32_t *)(void *)batch->parts;
    a->parts = batch->parts + hyb_cuda_done_count(batch->max_rows, op->n_head);
    a->max_splits = batch->max_splits;
}

/* The module of tensor-core kernels for this cache, or that of attention_any. */
static int hyb_cuda_attention_choose(const hyb_op_attention *op)
{
    const hyb_kv_view *kv = op->kv;
    int module =
        kv->head_dim_k == kv->head_dim_v ? hyb_cuda_attention_module(hyb_cuda_kv_type(kv->type), kv->head_dim_k) : -1;
    bool aligned = hyb_cuda_by_4(op->q, op->q_stride) && hyb_cuda_by_4(op->out, op->out_stride) &&
                   hyb_cuda_by_4(kv->k, (int64_t)kv->page_bytes_k / 4) &&
                   hyb_cuda_by_4(kv->v, (int64_t)kv->page_bytes_v / 4);
    return module >= 0 && aligned ? module : HYB_MODULE_ATTENTION_ANY;
}

enum { HYB_CUDA_ATTENTION_FEW, HYB_CUDA_ATTENTION_MANY }; /* kernels of a module; attention_any is both */

static unsigned hyb_cuda_attention_any_shared(int head_dim_k, int head_dim_v)
{
    const unsigned k = (unsigned)(head_dim_k + 3) / 4 * 4, v = (unsigned)head_dim_v;
    return 4 * HYB_MAX(16 * k + 16 * HYB_PAGE + HYB_PAGE * HYB_MAX(k + 4, v), 16 * (unsigned)HYB_CUDA_SPLIT_MAX);
}

/* Whether there is a kernel: attention_any takes every type of cache. shared: bytes that a block may have. */
static bool hyb_cuda_attends(int head_dim_k, int head_dim_v, unsigned shared)
{
    /* 256: DIMS of attention_any.cu */
    return head_dim_v <= 256 && hyb_cuda_attention_any_shared(head_dim_k, head_dim_v) <= shared;
}

/* Rows of short runs: the grid is as large as the length class may ask for; blocks after the end of a row leave. */
static void hyb_cuda_attention_split(hyb_cuda_queue *q, const hyb_cuda_batch *batch, const hyb_op_attention *op,
                                     int module, hyb_cuda_attention_args *a)
{
    const bool any = module == HYB_MODULE_ATTENTION_ANY;
    const int group = op->n_head / op->kv->n_head_kv, queries = any ? 16 : 8;
    int64_t pages = batch->max_length_class / HYB_PAGE, splits;
    void *args[1];
    args[0] = a;
    if (op->window > 0) pages = HYB_MIN(pages, (int64_t)op->window / HYB_PAGE + 2);
    splits = HYB_MIN(hyb_div_up(pages, HYB_CUDA_SPLIT_PAGES), batch->max_splits);
    a->rows = batch->split_rows;
    a->split = 1;
    hyb_cuda_launch3(q, module, HYB_CUDA_ATTENTION_FEW, splits, op->kv->n_head_kv * hyb_div_up(group, queries),
                     batch->n_split, 128, 1,
                     any ? hyb_cuda_attention_any_shared(op->kv->head_dim_k, op->kv->head_dim_v) : 0, args);
}

static void hyb_cuda_attention_tiles(hyb_cuda_queue *q, const hyb_cuda_batch *batch, const hyb_op_attention *op,
                                     int module, hyb_cuda_attention_args *a)
{
    const int dim = op->kv->head_dim_k, keys = dim > 128 ? 32 : 64;
    /* K, V, and q of large heads */
    const unsigned shared = (unsigned)((2 * keys + (dim > 128 ? HYB_CUDA_TILE : 0)) * (dim + 8) * 2);
    void *args[1];
    args[0] = a;
    a->rows = batch->tiles;
    a->split = 0;
    if (module != HYB_MODULE_ATTENTION_ANY && shared <= q->cu->shared_optin)
        hyb_cuda_launch3(q, module, HYB_CUDA_ATTENTION_MANY, batch->n_tiles, op->n_head, 1, 128, 1, shared, args);
    else
        hyb_cuda_launch3(q, HYB_MODULE_ATTENTION_ANY, HYB_CUDA_ATTENTION_FEW, batch->n_tiles, 4 * (int64_t)op->n_head,
                         1, 128, 1, hyb_cuda_attention_any_shared(op->kv->head_dim_k, op->kv->head_dim_v), args);
}

static void hyb_cuda_op_attention(hyb_cuda_at *at, const hyb_op_attention *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_attention_args a;
    const int module = hyb_cuda_attention_choose(op);
    hyb_cuda_attention_set(&a, batch, op);
    if (batch->n_split) hyb_cuda_attention_split(at->q, batch, op, module, &a);
    if (batch->n_tiles) hyb_cuda_attention_tiles(at->q, batch, op, module, &a);
}

#ifndef HYBRID_NO_TRAIN
/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* As in kernels/attention_any.cu. */
typedef struct hyb_cuda_attention_back_args {
    const float *q, *out, *dout;
    const char *k, *v;
    float *dq, *dk, *dv;
    const float *sinks;
    float *sink_rows;
    void *stats;
    const int32_t *runs, *pages;
    int64_t q_stride, out_stride, stride, page_bytes_k, page_bytes_v;
    int32_t n, n_head, n_head_kv, pages_a_seq, window;
    float scale, softcap;
    int32_t dim_k, dim_v, row_bytes_k, row_bytes_v, type;
} hyb_cuda_attention_back_args;

/* Bytes of scratch: four floats a row and head. */
static size_t hyb_cuda_attention_back_scratch(int n_rows, int n_head)
{
    return (size_t)n_rows * (size_t)n_head * 4 * sizeof(float);
}

/* Shared memory of a block of the queries' kernel; that of the keys' needs less. */
static unsigned hyb_cuda_attention_back_shared(int head_dim_k, int head_dim_v)
{
    const unsigned k = (unsigned)(head_dim_k + 3) / 4 * 4, v = (unsigned)(head_dim_v + 3) / 4 * 4;
    return 4 * (16 * (k + v) + HYB_PAGE * (k + v + 8) + 16 * HYB_PAGE);
}
static bool hyb_cuda_attends_back(int head_dim_k, int head_dim_v, unsigned shared)
{
    return head_dim_k <= 256 && head_dim_v <= 256 && hyb_cuda_attention_back_shared(head_dim_k, head_dim_v) <= shared;
}

static void hyb_cuda_attention_back_set(hyb_cuda_attention_back_args *a, const hyb_cuda_at *at,
                                        const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    memset(a, 0, sizeof *a);
    a->q = op->q;
    a->q_stride = op->q_stride;
    a->out = op->out;
    a->dout = op->dout;
    a->out_stride = op->out_stride;
    a->dq = op->dq;
    a->dk = op->dk;
    a->dv = op->dv;
    a->stride = op->stride;
    a->k = kv->k;
    a->page_bytes_k = (int64_t)kv->page_bytes_k;
    a->row_bytes_k = (int32_t)kv->row_bytes_k;
    a->dim_k = kv->head_dim_k;
    a->v = kv->v;
    a->page_bytes_v = (int64_t)kv->page_bytes_v;
    a->row_bytes_v = (int32_t)kv->row_bytes_v;
    a->dim_v = kv->head_dim_v;
    a->type = hyb_cuda_kv_type(kv->type);
    a->n_head = op->n_head;
    a->n_head_kv = kv->n_head_kv;
    a->scale = op->scale;
    a->softcap = op->softcap;
    a->window = op->window;
    a->sinks = op->sinks;
    a->sink_rows = op->sink_rows;
    a->stats = at->scratch;
    a->runs = at->batch.runs;
    a->pages = at->batch.pages;
    a->pages_a_seq = at->batch.pages_a_seq;
    a->n = at->batch.n;
}

static void hyb_cuda_op_attention_back(hyb_cuda_at *at, const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    const int64_t rows = HYB_MIN(at->batch.max_length_class, at->batch.n); /* of the longest run, at least */
    hyb_cuda_attention_back_args a;
    void *args[1];
    hyb_cuda_attention_back_set(&a, at, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_ATTENTION_BACK, 0, hyb_div_up(rows, 16), op->n_head, at->batch.n_runs, 128, 1,
                     hyb_cuda_attention_back_shared(kv->head_dim_k, kv->head_dim_v), args);
    hyb_cuda_launch3(at->q, HYB_MODULE_ATTENTION_BACK, 1, hyb_div_up(rows, HYB_PAGE), kv->n_head_kv, at->batch.n_runs,
                     256, 1, hyb_cuda_attention_back_shared(kv->head_dim_k, kv->head_dim_v), args);
    if (op->sinks) hyb_cuda_sum_rows(at, op->sink_rows, op->n_head, at->batch.n, op->n_head, op->dsinks);
}
#endif
#endif
