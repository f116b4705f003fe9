/* cuda/backend: the op table on a GPU: one queue, the batch in device memory, and scratch whose size is known
 * beforehand. */
#ifndef HYB_CUDA_BACKEND_C
#define HYB_CUDA_BACKEND_C
#include "../compute/backend.c"
#include "ops_recurrent.c"
#include "ops_attention.c"
#include "ops_experts.c"
#include "ops_train.c"
#include "ops_lowrank.c"
#include "ops_rssm.c"

/* Where the parts of a back end's one block of device memory are. The first ones are a picture of the batch, copied
 * from the host in one piece. */
typedef struct hyb_cuda_layout {
    size_t ids, pos, out, run_of_row, tiles, split_rows, runs, pages, picture; /* picture: bytes of all of these */
    size_t parts, scratch, scratch_bytes, bytes;
    int32_t pages_a_seq; /* of the longest sequence that there can be */
    hyb_cuda_split split;
} hyb_cuda_layout;

/* The launches of a pass are kept as a graph from the second time that a batch of the same shape comes; the first time
 * loads the kernels.
 *
 *     shape new        HYB_PASS_RUN     ops are launched one by one
 *     second time      HYB_PASS_RECORD  ops are launched into a capture; pass_end makes a graph of it, and runs that
 *     from then on     HYB_PASS_REPLAY  ops are not called at all; pass_end runs the graph
 *
 * What differs between batches of a shape (ids, positions, pages, slots) is in the picture in device memory, where
 * kernels find it; nothing of it is an argument of a kernel. */
typedef struct hyb_cuda_record {
    int32_t n, n_out, n_runs, n_split, max_length_class; /* everything that chooses kernels and grids */
    uint32_t used;                                       /* when; 0: never */
    hyb_cuda_graph *graph;
} hyb_cuda_record;
/* after so many failures in a row it goes on without graphs */
enum { HYB_CUDA_RECORDS = 8, HYB_CUDA_GRAPH_FAILURES = 3 };

typedef struct hyb_cuda_backend {
    hyb_backend base;
    hyb_cuda *cu;
    hyb_cuda_queue *queue;
    hyb_cuda_queue *up, *down; /* of copies beside the ops; NULL: no lanes were asked for */
    hyb_cuda_layout layout;
    hyb_cuda_at at;                                     /* where ops run */
    char *memory;                                       /* on the device */
    char *picture;                                      /* on the host */
    hyb_cuda_record records[HYB_CUDA_RECORDS], *record; /* record: of the pass under way, or NULL */
    uint32_t clock;
    int n_graph_failures; /* in a row */
} hyb_cuda_backend;

/* Bytes of scratch of the ops of training, besides those of matrices. */
static size_t hyb_cuda_train_scratch(const hyb_limits *limits)
{
#ifndef HYBRID_NO_TRAIN
    if (limits->n_train) {
        const size_t wkv = hyb_cuda_wkv7_back_scratch(limits->n_wkv, limits->wkv_size, limits->n_rows, limits->n_seq);
        const size_t bytes = HYB_MAX(hyb_cuda_attention_back_scratch(limits->n_rows, limits->n_head),
                                     HYB_CUDA_SQUARES_PARTS * HYB_GRAM_SUMS * sizeof(double));
        return HYB_MAX(bytes, wkv);
    }
#endif
    HYB_UNUSED(limits);
    return 0;
}

static void hyb_cuda_layout_make(hyb_cuda_layout *l, const hyb_limits *limits)
{
    const size_t rows = (size_t)limits->n_rows;
    size_t at = 0;
    memset(l, 0, sizeof *l);
    l->pages_a_seq = limits->pages_a_seq;
    l->split = hyb_cuda_split_plan(limits->n_seq, limits->n_rows, limits->n_head_kv, limits->pages_a_seq * HYB_PAGE);
    l->scratch_bytes = HYB_MAX(limits->scratch,
                               limits->n_top ? hyb_cuda_top_k_bytes(limits->n_out, limits->n_vocab, limits->n_top) : 0);
    l->scratch_bytes = HYB_MAX(l->scratch_bytes, hyb_cuda_train_scratch(limits));
#define HYB_PLACE(field, size) (l->field = at, at += hyb_align(size, 256))
    HYB_PLACE(ids, rows * sizeof(int32_t));
    HYB_PLACE(pos, rows * sizeof(int32_t));
    HYB_PLACE(out, rows * sizeof(int32_t));
    HYB_PLACE(run_of_row, rows * sizeof(int32_t));
    HYB_PLACE(tiles, hyb_cuda_tiles_max(limits->n_rows, limits->n_seq) * 4 * sizeof(int32_t));
    HYB_PLACE(split_rows, (size_t)l->split.max_rows * sizeof(int32_t));
    HYB_PLACE(runs, (size_t)limits->n_seq * 4 * sizeof(int32_t));
    HYB_PLACE(pages, (size_t)limits->n_seq * (size_t)limits->pages_a_seq * sizeof(int32_t));
    l->picture = at;
    HYB_PLACE(parts, hyb_cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    HYB_PLACE(scratch, l->scratch_bytes);
#undef HYB_PLACE
    l->bytes = at;
}

/* Bytes of cuBLAS' workspace, if the largest batch is worth it: taken at once, so that the plan holds. */
static size_t hyb_cuda_workspace(const hyb_limits *limits, int cc)
{
    return limits->n_rows > HYB_CUDA_FEW_FLOATS ? hyb_blas_workspace(cc) : 0;
}

static hyb_cuda_backend *hyb_cuda_of(hyb_backend *be) { return (hyb_cuda_backend *)be; }

/* ---- the batch --------------------------------------------------------------------------------------------------- */

/* bytes up to which one copy of everything is cheaper than eight of what is used */
enum { HYB_CUDA_WHOLE_PICTURE = 64 << 10 };

static void hyb_cuda_picture_write(hyb_cuda_backend *self, size_t at, size_t bytes)
{
    hyb_cuda_write(self->queue, self->memory + at, self->picture + at, bytes);
}

static void hyb_cuda_be_begin(hyb_backend *be, const hyb_batch *batch)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    const hyb_cuda_layout *l = &self->layout;
    hyb_cuda_batch *b = &self->at.batch;
    char *p = self->picture;
    const size_t n = (size_t)batch->n * sizeof(int32_t);
    size_t row;
    int i;
    self->record = NULL; /* of a replay that was given up */
    be->batch = batch;
    memcpy(p + l->ids, batch->ids, n);
    memcpy(p + l->pos, batch->pos, n);
    if (batch->n_out) memcpy(p + l->out, batch->out, (size_t)batch->n_out * sizeof(int32_t));
    hyb_cuda_batch_fill(b, &l->split, batch, (int32_t *)(void *)(p + l->run_of_row), (int32_t *)(void *)(p + l->tiles),
                        (int32_t *)(void *)(p + l->split_rows), (int32_t *)(void *)(p + l->runs));
    /* an argument of kernels: it is the same for all batches of a record */
    b->pages_a_seq = HYB_MIN(l->pages_a_seq, b->max_length_class / HYB_PAGE);
    row = (size_t)b->pages_a_seq * sizeof(int32_t);
    for (i = 0; row && i < batch->n_runs; i++) { /* a model without attention has no pages */
        const hyb_run *run = &batch->runs[i];
        memcpy(p + l->pages + (size_t)i * row, run->pages,
               (size_t)((run->pos + run->n_rows - 1) / HYB_PAGE + 1) * sizeof(int32_t));
    }
    if (l->pages + (size_t)batch->n_runs * row <= HYB_CUDA_WHOLE_PICTURE) {
        hyb_cuda_picture_write(self, 0, l->pages + (size_t)batch->n_runs * row); /* the page tables come last */
        return;
    }
    hyb_cuda_picture_write(self, l->ids, n);
    hyb_cuda_picture_write(self, l->pos, n);
    hyb_cuda_picture_write(self, l->out, (size_t)batch->n_out * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->run_of_row, n);
    hyb_cuda_picture_write(self, l->tiles, (size_t)b->n_tiles * 4 * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->split_rows, (size_t)b->n_split * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->runs, (size_t)batch->n_runs * 4 * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->pages, (size_t)batch->n_runs * row);
}

/* ---- recorded passes: a decode step is hundreds of launches of a few microseconds, which one graph starts at once */

/* The record of this shape of batch; a new one replaces the one that was used longest ago. */
static hyb_cuda_record *hyb_cuda_record_of(hyb_cuda_backend *self)
{
    const hyb_cuda_batch *b = &self->at.batch;
    hyb_cuda_record *oldest = self->records;
    int i;
    for (i = 0; i < HYB_CUDA_RECORDS; i++) {
        hyb_cuda_record *r = &self->records[i];
        if (r->used && r->n == b->n && r->n_out == b->n_out && r->n_runs == b->n_runs && r->n_split == b->n_split &&
            r->max_length_class == b->max_length_class)
            return r;
        if (r->used < oldest->used) oldest = r;
    }
    hyb_cuda_graph_destroy(self->cu, oldest->graph);
    memset(oldest, 0, sizeof *oldest);
    oldest->n = b->n;
    oldest->n_out = b->n_out;
    oldest->n_runs = b->n_runs;
    oldest->n_split = b->n_split;
    oldest->max_length_class = b->max_length_class;
    return oldest;
}

/* Another thread of the process may break a recording: that is not a reason to give up recording for good. */
static void hyb_cuda_graph_failed(hyb_cuda_backend *self, const hybrid_error *why)
{
    const bool last = ++self->n_graph_failures == HYB_CUDA_GRAPH_FAILURES;
    hyb_log(self->base.rt, HYBRID_LOG_WARN, "decoding without CUDA graphs%s: %s", last ? "" : " for once",
            why->message);
}

static hyb_pass hyb_cuda_be_pass_begin(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hybrid_error why;
    bool seen;
    /* tiles mean a prompt, and no other batch will have its shape */
    if (self->n_graph_failures >= HYB_CUDA_GRAPH_FAILURES || self->at.batch.n_tiles || self->queue->failure.result ||
        self->queue->rehearsing)
        return HYB_PASS_RUN;
    self->record = hyb_cuda_record_of(self);
    seen = self->record->used != 0;
    self->record->used = ++self->clock;
    if (self->record->graph) return HYB_PASS_REPLAY;
    if (seen && !hyb_cuda_capture_begin(self->queue, &why)) return HYB_PASS_RECORD;
    if (seen) hyb_cuda_graph_failed(self, &why);
    self->record = NULL;
    return HYB_PASS_RUN;
}

static void hyb_cuda_be_rehearse(hyb_backend *be, bool on) { hyb_cuda_of(be)->queue->rehearsing = on; }

static bool hyb_cuda_be_pass_end(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hyb_cuda_record *record = self->record;
    hybrid_error why;
    self->record = NULL;
    if (!record) return true;
    if ((record->graph || !hyb_cuda_capture_end(self->queue, &record->graph, &why)) &&
        !hyb_cuda_graph_launch(self->queue, record->graph, &why)) {
        self->n_graph_failures = 0;
        return true;
    }
    hyb_cuda_graph_destroy(self->cu, record->graph);
    record->graph = NULL;
    if (self->queue->failure.result) return true; /* sync tells of a lost device */
    hyb_cuda_graph_failed(self, &why);
    return false;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define HYB_OP(name_) \
    static void hyb_cuda_be_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
    { \
        hyb_cuda_op_##name_(&hyb_cuda_of(be)->at, op); \
    }
#define HYB_PARTS(name_) \
    static bool hyb_cuda_be_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
    { \
        return hyb_cuda_op_##name_(&hyb_cuda_of(be)->at, op); \
    }
HYB_OPS(HYB_OP, HYB_PARTS)
HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
#undef HYB_PARTS

static void hyb_cuda_be_copy(hyb_backend *be, void *dst, const void *src, size_t bytes)
{
    hyb_cuda_copy(hyb_cuda_of(be)->queue, dst, src, bytes);
}
static void hyb_cuda_be_zero(hyb_backend *be, void *dst, size_t bytes)
{
    hyb_cuda_zero(hyb_cuda_of(be)->queue, dst, bytes);
}
static void hyb_cuda_be_write(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cuda_write(hyb_cuda_of(be)->queue, dst, host, bytes);
}
static void hyb_cuda_be_read(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cuda_read(hyb_cuda_of(be)->queue, host, src, bytes);
}

static hyb_cuda_queue *hyb_cuda_lane(hyb_backend *be, hyb_lane lane)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    return lane == HYB_LANE_UP ? self->up : lane == HYB_LANE_DOWN ? self->down : self->queue;
}
static hybrid_result hyb_cuda_be_lanes(hyb_backend *be, hybrid_error *error)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hybrid_result r = self->down ? HYBRID_OK : hyb_cuda_queue_create(self->cu, &self->down, error);
    return r || self->up ? r : hyb_cuda_queue_create(self->cu, &self->up, error);
}
static void hyb_cuda_be_upload(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    if (self->up || !hyb_cuda_be_lanes(be, &self->queue->failure)) hyb_cuda_upload(self->up, dst, host, bytes);
}
static void hyb_cuda_be_download(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    if (self->down || !hyb_cuda_be_lanes(be, &self->queue->failure)) hyb_cuda_download(self->down, host, src, bytes);
}
static void hyb_cuda_be_await(hyb_backend *be, hyb_lane lane, hyb_lane other)
{
    hyb_cuda_queue *q = hyb_cuda_lane(be, lane), *o = hyb_cuda_lane(be, other);
    if (q && o) hyb_cuda_wait(q, o); /* a lane that was never made holds nothing */
}

/* Whether copies beside the ops have failed: then none of them is under way any more. */
static hybrid_result hyb_cuda_lanes_failed(hyb_cuda_backend *self, hybrid_error *error)
{
    const bool failed = self->queue->failure.result || (self->up && self->up->failure.result) ||
                        (self->down && self->down->failure.result);
    hybrid_result up, down;
    if (!failed) return HYBRID_OK;
    up = self->up ? hyb_cuda_sync(self->up, error) : HYBRID_OK;
    down = self->down ? hyb_cuda_sync(self->down, up ? NULL : error) : HYBRID_OK;
    return up ? up : down;
}

/* Whatever failed on the GPU, the remedy is the same, to go on without it; so there is one code. */
static hybrid_result hyb_cuda_be_sync(hyb_backend *be, hybrid_error *error)
{
    hyb_cuda_at *at = &hyb_cuda_of(be)->at;
    hybrid_error why;
    const hybrid_result r = hyb_cuda_sync(at->q, &why), lanes = hyb_cuda_lanes_failed(hyb_cuda_of(be), r ? NULL : &why);
    return r || lanes ? hyb_fail(error, HYBRID_ERROR_DEVICE, "%s", why.message) : HYBRID_OK;
}

static void *hyb_cuda_be_stream(hyb_backend *be) { return hyb_cuda_of(be)->queue->stream; }

static void hyb_cuda_be_destroy(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hyb_cuda *cu;
    hybrid_runtime *rt;
    int i;
    if (!be) return;
    cu = self->cu;
    rt = be->rt;
    if (self->queue) hyb_cuda_sync(self->queue, NULL);
    for (i = 0; i < HYB_CUDA_RECORDS; i++) hyb_cuda_graph_destroy(cu, self->records[i].graph);
    hyb_cuda_queue_destroy(self->up);
    hyb_cuda_queue_destroy(self->down);
    hyb_cuda_queue_destroy(self->queue);
    hyb_cuda_free(cu, self->memory);
    hyb_free(rt, self->picture);
    hyb_free(rt, self);
    hyb_runtime_release(rt);
}

static hybrid_result hyb_cuda_backend_fill(hyb_cuda_backend *self, const hyb_limits *limits, hybrid_error *error)
{
    const hyb_cuda_layout *l = &self->layout;
    hyb_cuda_batch *b = &self->at.batch;
    void *memory;
    hybrid_result r;
    if (!(self->picture = (char *)hyb_calloc(self->base.rt, 1, l->picture))) return hyb_fail_memory(error, l->picture);
    if ((r = hyb_cuda_alloc(self->cu, l->bytes, &memory, error)) != HYBRID_OK) return r;
    self->memory = (char *)memory;
    b->ids = (int32_t *)(void *)(self->memory + l->ids);
    b->pos = (int32_t *)(void *)(self->memory + l->pos);
    b->out = (int32_t *)(void *)(self->memory + l->out);
    b->run_of_row = (int32_t *)(void *)(self->memory + l->run_of_row);
    b->tiles = (int32_t *)(void *)(self->memory + l->tiles);
    b->split_rows = (int32_t *)(void *)(self->memory + l->split_rows);
    b->runs = (int32_t *)(void *)(self->memory + l->runs);
    b->pages = (int32_t *)(void *)(self->memory + l->pages);
    b->parts = (float *)(void *)(self->memory + l->parts);
    self->at.scratch = self->memory + l->scratch;
    self->at.scratch_bytes = l->scratch_bytes;
    if ((r = hyb_cuda_queue_create(self->cu, &self->queue, error)) != HYBRID_OK) return r;
    self->at.q = self->queue;
    hyb_cuda_zero(self->queue, b->parts, hyb_cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    if (!hyb_cuda_workspace(limits, self->cu->cc)) return HYBRID_OK;
    return hyb_cuda_alloc(self->cu, hyb_cuda_workspace(limits, self->cu->cc), &self->queue->blas.workspace, error);
}

static hybrid_result hyb_cuda_backend_create(hyb_cuda *cu, const hyb_limits *limits, hyb_backend **be,
                                             hybrid_error *error)
{
    /* clang-format off */
    static const hyb_backend_ops ops = {
        "cuda",
#define HYB_OP(name_) hyb_cuda_be_##name_,
        HYB_OPS(HYB_OP, HYB_OP)
#undef HYB_OP
#define HYB_CALL(result_, name_, parameters_) hyb_cuda_be_##name_,
        HYB_BACKEND_CALLS(HYB_CALL)
#undef HYB_CALL
#define HYB_OP(name_) hyb_cuda_be_##name_,
        HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
    };
    /* clang-format on */
    hyb_cuda_backend *self = (hyb_cuda_backend *)hyb_calloc(cu->rt, 1, sizeof *self);
    hybrid_result r;
    *be = NULL;
    if (!self) return hyb_fail_memory(error, sizeof *self);
    self->base.ops = &ops;
    self->base.rt = cu->rt;
    self->cu = cu;
    hyb_atomic_add(&cu->rt->references, 1);
    hyb_cuda_layout_make(&self->layout, limits);
    if ((r = hyb_cuda_backend_fill(self, limits, error)) != HYBRID_OK) {
        hyb_cuda_be_destroy(&self->base);
        return r;
    }
    *be = &self->base;
    return HYBRID_OK;
}
#endif
