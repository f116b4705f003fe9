/* cuda/backend: the op table on a GPU: one queue, the batch in device memory, and scratch whose size is known beforehand. */

/* Where the parts of a back end's one block of device memory are. The first ones are a picture of the batch, copied from the host in one piece. */
typedef struct hybrid__cuda_layout {
    size_t ids, pos, out, run_of_row, tiles, split_rows, pages, picture;       /* picture: bytes of all of these */
    size_t parts, scratch, scratch_bytes, bytes;
    int32_t pages_a_seq;                   /* of the longest sequence that there can be */
    hybrid__cuda_split split;
} hybrid__cuda_layout;

/* A batch of a shape has been here: what its pass launches is a graph, once it came a second time. The first time loads the kernels. */
typedef struct hybrid__cuda_record {
    int32_t n, n_out, n_runs, n_split, max_length_class;       /* all that chooses kernels and grids */
    uint32_t used;                         /* when; 0: never */
    hybrid__cuda_graph *graph;
} hybrid__cuda_record;
enum { HYBRID__CUDA_RECORDS = 8, HYBRID__CUDA_GRAPH_FAILURES = 3 };        /* so many failures in a row, and it goes without graphs */

typedef struct hybrid__cuda_backend {
    hybrid__backend     base;
    hybrid__cuda       *cu;
    hybrid__cuda_queue *queue;
    hybrid__cuda_layout layout;
    hybrid__cuda_at     at;                /* where ops run */
    char               *memory;            /* on the device */
    char               *picture;           /* on the host */
    hybrid__cuda_record records[HYBRID__CUDA_RECORDS], *record;   /* record: of the pass at hand, or NULL */
    uint32_t            clock;
    int                 n_graph_failures;  /* in a row */
} hybrid__cuda_backend;

static void hybrid__cuda_layout_make(hybrid__cuda_layout *l, const hybrid__limits *limits)
{
    const size_t rows = (size_t)limits->n_rows;
    size_t at = 0;
    memset(l, 0, sizeof *l);
    l->pages_a_seq = limits->pages_a_seq;
    l->split = hybrid__cuda_split_plan(limits->n_seq, limits->n_rows, limits->n_head_kv, limits->pages_a_seq * HYBRID__PAGE);
    l->scratch_bytes = HYBRID__MAX(limits->scratch, limits->n_top ? hybrid__cuda_top_k_bytes(limits->n_out, limits->n_vocab, limits->n_top) : 0);
#define HYBRID__PLACE(field, size) (l->field = at, at += hybrid__align(size, 256))
    HYBRID__PLACE(ids, rows * sizeof(int32_t));
    HYBRID__PLACE(pos, rows * sizeof(int32_t));
    HYBRID__PLACE(out, rows * sizeof(int32_t));
    HYBRID__PLACE(run_of_row, rows * sizeof(int32_t));
    HYBRID__PLACE(tiles, hybrid__cuda_tiles_max(limits->n_rows, limits->n_seq) * 4 * sizeof(int32_t));
    HYBRID__PLACE(split_rows, (size_t)l->split.max_rows * sizeof(int32_t));
    HYBRID__PLACE(pages, (size_t)limits->n_seq * (size_t)limits->pages_a_seq * sizeof(int32_t));
    l->picture = at;
    HYBRID__PLACE(parts, hybrid__cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    HYBRID__PLACE(scratch, l->scratch_bytes);
#undef HYBRID__PLACE
    l->bytes = at;
}

/* Bytes that cuBLAS works with, where the largest batch is worth it: taken at once, so that the plan holds. */
static size_t hybrid__cuda_workspace(const hybrid__limits *limits, int cc) { return limits->n_rows > HYBRID__CUDA_FEW_FLOATS ? hybrid__blas_workspace(cc) : 0; }

static hybrid__cuda_backend *hybrid__cuda_of(hybrid__backend *be) { return (hybrid__cuda_backend *)be; }

/* ---- the batch ---- */

enum { HYBRID__CUDA_WHOLE_PICTURE = 64 << 10 };    /* bytes up to which one copy of everything is cheaper than seven of what is used */

static void hybrid__cuda_picture_write(hybrid__cuda_backend *self, size_t at, size_t bytes)
{
    hybrid__cuda_write(self->queue, self->memory + at, self->picture + at, bytes);
}

static void hybrid__cuda_be_begin(hybrid__backend *be, const hybrid__batch *batch)
{
    hybrid__cuda_backend *self = hybrid__cuda_of(be);
    const hybrid__cuda_layout *l = &self->layout;
    hybrid__cuda_batch *b = &self->at.batch;
    char *p = self->picture;
    const size_t n = (size_t)batch->n * sizeof(int32_t);
    size_t row;
    int i;
    self->record = NULL;                                       /* of a replay that was given up */
    self->at.refused = NULL;
    be->batch = batch;
    memcpy(p + l->ids, batch->ids, n);
    memcpy(p + l->pos, batch->pos, n);
    if (batch->n_out) memcpy(p + l->out, batch->out, (size_t)batch->n_out * sizeof(int32_t));
    hybrid__cuda_batch_fill(b, &l->split, batch, (int32_t *)(void *)(p + l->run_of_row), (int32_t *)(void *)(p + l->tiles), (int32_t *)(void *)(p + l->split_rows));
    b->pages_a_seq = HYBRID__MIN(l->pages_a_seq, b->max_length_class / HYBRID__PAGE);      /* kernels are told: it is the same for all batches of a record */
    row = (size_t)b->pages_a_seq * sizeof(int32_t);
    for (i = 0; i < batch->n_runs; i++) {
        const hybrid__run *run = &batch->runs[i];
        memcpy(p + l->pages + (size_t)i * row, run->pages, (size_t)((run->pos + run->n_rows - 1) / HYBRID__PAGE + 1) * sizeof(int32_t));
    }
    if (l->pages + (size_t)batch->n_runs * row <= HYBRID__CUDA_WHOLE_PICTURE) {
        hybrid__cuda_picture_write(self, 0, l->pages + (size_t)batch->n_runs * row);       /* the page tables come last */
        return;
    }
    hybrid__cuda_picture_write(self, l->ids, n);
    hybrid__cuda_picture_write(self, l->pos, n);
    hybrid__cuda_picture_write(self, l->out, (size_t)batch->n_out * sizeof(int32_t));
    hybrid__cuda_picture_write(self, l->run_of_row, n);
    hybrid__cuda_picture_write(self, l->tiles, (size_t)b->n_tiles * 4 * sizeof(int32_t));
    hybrid__cuda_picture_write(self, l->split_rows, (size_t)b->n_split * sizeof(int32_t));
    hybrid__cuda_picture_write(self, l->pages, (size_t)batch->n_runs * row);
}

/* ---- recorded passes: a decode step is hundreds of launches of a few microseconds, which one graph starts at once ---- */

/* The record of this shape of batch; a new one takes the place of the one that was used longest ago. */
static hybrid__cuda_record *hybrid__cuda_record_of(hybrid__cuda_backend *self)
{
    const hybrid__cuda_batch *b = &self->at.batch;
    hybrid__cuda_record *oldest = self->records;
    int i;
    for (i = 0; i < HYBRID__CUDA_RECORDS; i++) {
        hybrid__cuda_record *r = &self->records[i];
        if (r->used && r->n == b->n && r->n_out == b->n_out && r->n_runs == b->n_runs && r->n_split == b->n_split && r->max_length_class == b->max_length_class) return r;
        if (r->used < oldest->used) oldest = r;
    }
    hybrid__cuda_graph_destroy(self->cu, oldest->graph);
    memset(oldest, 0, sizeof *oldest);
    oldest->n = b->n; oldest->n_out = b->n_out; oldest->n_runs = b->n_runs; oldest->n_split = b->n_split; oldest->max_length_class = b->max_length_class;
    return oldest;
}

/* Another thread of the process may break a recording: that is no reason to do without for good. */
static void hybrid__cuda_graph_failed(hybrid__cuda_backend *self, const hybrid_error *why)
{
    const bool last = ++self->n_graph_failures == HYBRID__CUDA_GRAPH_FAILURES;
    hybrid__log(self->base.rt, HYBRID_LOG_WARN, "decoding without CUDA graphs%s: %s", last ? "" : " for once", why->message);
}

static hybrid__pass hybrid__cuda_be_pass_begin(hybrid__backend *be)
{
    hybrid__cuda_backend *self = hybrid__cuda_of(be);
    hybrid_error why;
    bool seen;
    if (self->n_graph_failures >= HYBRID__CUDA_GRAPH_FAILURES || self->at.batch.n_tiles || self->queue->result || self->queue->rehearsing) return HYBRID__PASS_RUN;      /* tiles: a prompt, which no other is like */
    self->record = hybrid__cuda_record_of(self);
    seen = self->record->used != 0;
    self->record->used = ++self->clock;
    if (self->record->graph) return HYBRID__PASS_REPLAY;
    if (seen && !hybrid__cuda_capture_begin(self->queue, &why)) return HYBRID__PASS_RECORD;
    if (seen) hybrid__cuda_graph_failed(self, &why);
    self->record = NULL;
    return HYBRID__PASS_RUN;
}

static void hybrid__cuda_be_rehearse(hybrid__backend *be, bool on) { hybrid__cuda_of(be)->queue->rehearsing = on; }

static bool hybrid__cuda_be_pass_end(hybrid__backend *be)
{
    hybrid__cuda_backend *self = hybrid__cuda_of(be);
    hybrid__cuda_record *record = self->record;
    hybrid_error why;
    self->record = NULL;
    if (!record) return true;
    if ((record->graph || !hybrid__cuda_capture_end(self->queue, &record->graph, &why)) && !hybrid__cuda_graph_launch(self->queue, record->graph, &why)) {
        self->n_graph_failures = 0;
        return true;
    }
    hybrid__cuda_graph_destroy(self->cu, record->graph);
    record->graph = NULL;
    if (self->queue->result) return true;                      /* a lost device is sync's business */
    hybrid__cuda_graph_failed(self, &why);
    return false;
}

/* ---- the table ---- */

#define HYBRID__OP(name_) \
    static void hybrid__cuda_be_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) { hybrid__cuda_op_##name_(&hybrid__cuda_of(be)->at, op); }
#define HYBRID__PARTS(name_) \
    static bool hybrid__cuda_be_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) { return hybrid__cuda_op_##name_(&hybrid__cuda_of(be)->at, op); }
HYBRID__OPS(HYBRID__OP, HYBRID__PARTS)
#undef HYBRID__OP
#undef HYBRID__PARTS

static void hybrid__cuda_be_copy(hybrid__backend *be, void *dst, const void *src, size_t bytes)
{
    hybrid__cuda_copy(hybrid__cuda_of(be)->queue, dst, src, bytes);
}
static void hybrid__cuda_be_write(hybrid__backend *be, void *dst, const void *host, size_t bytes) { hybrid__cuda_write(hybrid__cuda_of(be)->queue, dst, host, bytes); }
static void hybrid__cuda_be_read(hybrid__backend *be, void *host, const void *src, size_t bytes) { hybrid__cuda_read(hybrid__cuda_of(be)->queue, host, src, bytes); }

/* Whatever failed on the GPU, the remedy is the same, so it has one code: to go on without. */
static hybrid_result hybrid__cuda_be_sync(hybrid__backend *be, hybrid_error *error)
{
    hybrid__cuda_at *at = &hybrid__cuda_of(be)->at;
    hybrid_error why;
    if (hybrid__cuda_sync(at->q, &why)) return hybrid__fail(error, HYBRID_ERROR_DEVICE, "%s", why.message);
    be->refused = at->refused;
    return hybrid__refused(be, error);
}

static void hybrid__cuda_be_destroy(hybrid__backend *be)
{
    hybrid__cuda_backend *self = hybrid__cuda_of(be);
    hybrid__cuda *cu;
    hybrid_runtime *rt;
    int i;
    if (!be) return;
    cu = self->cu;
    rt = be->rt;
    if (self->queue) hybrid__cuda_sync(self->queue, NULL);
    for (i = 0; i < HYBRID__CUDA_RECORDS; i++) hybrid__cuda_graph_destroy(cu, self->records[i].graph);
    hybrid__cuda_queue_destroy(self->queue);
    hybrid__cuda_free(cu, self->memory);
    hybrid__free(rt, self->picture);
    hybrid__free(rt, self);
    hybrid__runtime_release(rt);
}

static hybrid_result hybrid__cuda_backend_fill(hybrid__cuda_backend *self, const hybrid__limits *limits, hybrid_error *error)
{
    const hybrid__cuda_layout *l = &self->layout;
    hybrid__cuda_batch *b = &self->at.batch;
    void *memory;
    hybrid_result r;
    if (!(self->picture = (char *)hybrid__calloc(self->base.rt, 1, l->picture))) return hybrid__fail_memory(error, l->picture);
    if ((r = hybrid__cuda_alloc(self->cu, l->bytes, &memory, error)) != HYBRID_OK) return r;
    self->memory = (char *)memory;
    b->ids = (int32_t *)(void *)(self->memory + l->ids);
    b->pos = (int32_t *)(void *)(self->memory + l->pos);
    b->out = (int32_t *)(void *)(self->memory + l->out);
    b->run_of_row = (int32_t *)(void *)(self->memory + l->run_of_row);
    b->tiles = (int32_t *)(void *)(self->memory + l->tiles);
    b->split_rows = (int32_t *)(void *)(self->memory + l->split_rows);
    b->pages = (int32_t *)(void *)(self->memory + l->pages);
    b->parts = (float *)(void *)(self->memory + l->parts);
    self->at.scratch = self->memory + l->scratch;
    self->at.scratch_bytes = l->scratch_bytes;
    if ((r = hybrid__cuda_queue_create(self->cu, &self->queue, error)) != HYBRID_OK) return r;
    self->at.q = self->queue;
    hybrid__cuda_zero(self->queue, b->parts, hybrid__cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    if (!hybrid__cuda_workspace(limits, self->cu->cc)) return HYBRID_OK;
    return hybrid__cuda_alloc(self->cu, hybrid__cuda_workspace(limits, self->cu->cc), &self->queue->blas.workspace, error);
}

static hybrid_result hybrid__cuda_backend_create(hybrid__cuda *cu, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error)
{
    static const hybrid__backend_ops ops = {
        "cuda",
#define HYBRID__OP(name_) hybrid__cuda_be_##name_,
        HYBRID__OPS(HYBRID__OP, HYBRID__OP)
#undef HYBRID__OP
#define HYBRID__CALL(result_, name_, parameters_) hybrid__cuda_be_##name_,
        HYBRID__BACKEND_CALLS(HYBRID__CALL)
#undef HYBRID__CALL
    };
    hybrid__cuda_backend *self = (hybrid__cuda_backend *)hybrid__calloc(cu->rt, 1, sizeof *self);
    hybrid_result r;
    *be = NULL;
    if (!self) return hybrid__fail_memory(error, sizeof *self);
    self->base.ops = &ops;
    self->base.rt = cu->rt;
    self->cu = cu;
    hybrid__atomic_add(&cu->rt->references, 1);
    hybrid__cuda_layout_make(&self->layout, limits);
    if ((r = hybrid__cuda_backend_fill(self, limits, error)) != HYBRID_OK) {
        hybrid__cuda_be_destroy(&self->base);
        return r;
    }
    *be = &self->base;
    return HYBRID_OK;
}
