/* compute/matmul: the matrix product of the CPU back end: which kernel, how the work is split, bias and accumulation.
 *
 * One parallel section prepares the activations (none for n = 1), one runs all matrices of the op. Work is split by rows of the weights, in
 * chunks of some 10-50 us, several a lane, so that a lost core delays the others by one chunk only. */

enum {
    HYBRID__MATMUL_CHUNK = 192 << 10,      /* decode: at most this many bytes of weights a chunk, */
    HYBRID__MATMUL_CHUNK_MIN = 16 << 10,   /* at least this many, */
    HYBRID__MATMUL_CHUNKS_A_LANE = 4,      /* and about this many chunks a lane where there is enough work */
    HYBRID__MATMUL_WARM = 24 << 10,        /* n > 1 by gemv: bytes of weights that stay in L1 / L2 while the rows of x take turns */
    HYBRID__MATMUL_ROWS = 64,              /* prefill: at most this many rows a chunk */
    HYBRID__MATMUL_PREPARE = 4             /* rows of x that are prepared in one chunk */
};

/* The kernel of a type, or NULL when the type has none. isa is at most what the machine has. */
static const hybrid__matmul_kernel *hybrid__matmul_kernel_for(hybrid__isa isa, hybrid_type type)
{
    const hybrid__matmul_kernel *kernel = hybrid__int_kernel_for(isa, type);
    return kernel ? kernel : hybrid__matmul_float_kernel(isa, type);
}

typedef struct hybrid__matmul_part {       /* one matrix of the op */
    const hybrid__matmul_kernel *kernel;
    const hybrid__act_format *format;
    const hybrid__repack *repack;          /* decode reads w->repacked by this one's gemv, or NULL */
    const char *acts;                      /* n prepared rows */
    size_t  act_bytes;
    int64_t chunk_rows;
    int     first_chunk;
} hybrid__matmul_part;

typedef struct hybrid__matmul_job {
    const hybrid__op_matmul *op;
    const hybrid__cpu_kernels *rows;       /* which add */
    hybrid__matmul_part part[4];
    const hybrid__act_format *format[4];   /* the distinct ones */
    char   *format_acts[4];
    int     n_formats, n_chunks;
    char   *lane_scratch;
    size_t  lane_bytes;                    /* scratch of a lane: the kernel's, then a tile of results for y += */
    size_t  tile_at;
} hybrid__matmul_job;

static bool hybrid__matmul_by_gemv(const hybrid__matmul_kernel *kernel, int n) { return n <= HYBRID__MAX(kernel->gemv_up_to, 1); }

/* low <= v <= high; low wins. */
static int64_t hybrid__matmul_clamp(int64_t v, int64_t low, int64_t high)
{
    v = HYBRID__MIN(v, high);
    return HYBRID__MAX(v, low);
}

/* Rows of a chunk of matrix w: follows from w, n and lanes alone, so that scratch can be planned. Of a gemv: whole groups of rows, as in a repacked
 * matrix. */
static int64_t hybrid__matmul_chunk_rows(const hybrid__matmul_kernel *kernel, const hybrid__tensor *w, int n, int lanes)
{
    int64_t rows = w->ne[1], bytes = (int64_t)hybrid_type_row_bytes(w->type, (size_t)w->ne[0]), step = kernel->row_step;
    int64_t shares = (int64_t)lanes * HYBRID__MATMUL_CHUNKS_A_LANE, most = HYBRID__MATMUL_CHUNK;
    if (rows < 1 || bytes < 1) return 1;
    if (!hybrid__matmul_by_gemv(kernel, n)) return hybrid__matmul_clamp(rows / shares / step * step, step, HYBRID__MATMUL_ROWS / step * step);
    if (lanes > 1) most = hybrid__matmul_clamp(rows * bytes / shares, HYBRID__MATMUL_CHUNK_MIN, most);
    return hybrid__matmul_clamp(hybrid__align((size_t)hybrid__matmul_clamp(most / bytes, 1, rows), HYBRID__REPACK_ROWS), 1, rows);
}

/* Lays out the job in scratch (NULL: only counts) and returns the bytes that it takes. */
static size_t hybrid__matmul_plan(hybrid__matmul_job *job, hybrid__isa isa, int lanes, char *scratch, const hybrid__op_matmul *op)
{
    size_t at = 0, kernel_bytes = 0, tile_bytes = 0;
    int i, f;
    memset(job, 0, sizeof *job);
    job->op = op;
    job->rows = hybrid__cpu_kernels_for(isa);
    for (i = 0; i < op->n_out; i++) {
        const hybrid__tensor *w = op->out[i].w;
        hybrid__matmul_part *part = &job->part[i];
        const hybrid__matmul_kernel *kernel = hybrid__matmul_kernel_for(isa, w->type);
        if (!kernel || w->ne[1] < 1 || op->n < 1) continue;
        part->kernel = kernel;
        part->format = hybrid__matmul_by_gemv(kernel, op->n) ? kernel->one : kernel->many;
        part->repack = w->repacked && hybrid__matmul_by_gemv(kernel, op->n) ? hybrid__repack_for(isa, w->type) : NULL;
        part->act_bytes = part->format->bytes(w->ne[0]);
        for (f = 0; f < job->n_formats && job->format[f] != part->format; f++) {}
        if (f == job->n_formats) {
            job->format[job->n_formats++] = part->format;
            job->format_acts[f] = scratch ? scratch + at : NULL;
            at += part->act_bytes * (size_t)op->n;
        }
        part->acts = job->format_acts[f];
        part->chunk_rows = hybrid__matmul_chunk_rows(kernel, w, op->n, lanes);
        part->first_chunk = job->n_chunks;
        job->n_chunks += (int)((w->ne[1] + part->chunk_rows - 1) / part->chunk_rows);
        if (!hybrid__matmul_by_gemv(kernel, op->n)) kernel_bytes = HYBRID__MAX(kernel_bytes, hybrid__align(kernel->scratch_bytes(w->ne[0], op->n), 64));
        tile_bytes = HYBRID__MAX(tile_bytes, (size_t)op->n * (size_t)part->chunk_rows * sizeof(float));
    }
    job->tile_at = kernel_bytes;
    job->lane_bytes = kernel_bytes + hybrid__align(tile_bytes, 64);
    job->lane_scratch = scratch ? scratch + at : NULL;
    return at + job->lane_bytes * (size_t)lanes;
}

/* Bytes of scratch that hybrid__matmul_run needs for an op: reads its n, n_out, and type and sizes of every out[i].w. */
static size_t hybrid__matmul_bytes(hybrid__isa isa, int lanes, const hybrid__op_matmul *op)
{
    hybrid__matmul_job job;
    return hybrid__matmul_plan(&job, isa, lanes, NULL, op);
}

static void hybrid__matmul_prepare(void *arg, int chunk, int lane)
{
    hybrid__matmul_job *job = (hybrid__matmul_job *)arg;
    const hybrid__op_matmul *op = job->op;
    int64_t k = op->out[0].w->ne[0];
    int i, f, end = HYBRID__MIN(op->n, (chunk + 1) * HYBRID__MATMUL_PREPARE);
    HYBRID__UNUSED(lane);
    for (i = chunk * HYBRID__MATMUL_PREPARE; i < end; i++)
        for (f = 0; f < job->n_formats; f++)
            job->format[f]->prepare(op->x + i * op->x_stride, k, job->format_acts[f] + (size_t)i * job->format[f]->bytes(k));
}

/* Rows r0..r1 of one matrix and one row of x. */
static void hybrid__matmul_gemv(const hybrid__matmul_part *part, const hybrid__tensor *w, const char *act, float *y, int64_t r0, int64_t r1)
{
    const int64_t whole = part->repack ? HYBRID__MIN(r1, w->ne[1] / HYBRID__REPACK_ROWS * HYBRID__REPACK_ROWS) : r0;
    if (whole > r0) part->repack->gemv(w->repacked, w->nb[1], w->ne[0], act, y, r0, whole);
    if (r1 > whole) part->kernel->gemv(w->data, w->nb[1], w->ne[0], act, y + (whole - r0), whole, r1);
}

/* Rows r0..r1 of one matrix, for all rows of x, to y[i * y_stride + r - r0]. r0 is a multiple of HYBRID__REPACK_ROWS. */
static void hybrid__matmul_rows(const hybrid__matmul_part *part, const hybrid__tensor *w, int n, float *y, int64_t y_stride, int64_t r0, int64_t r1, char *scratch)
{
    const hybrid__matmul_kernel *kernel = part->kernel;
    size_t row_bytes = w->nb[1];
    int64_t r, end, step = n == 1 ? r1 - r0 : (int64_t)hybrid__align(HYBRID__MAX(HYBRID__MATMUL_WARM / row_bytes, 1), HYBRID__REPACK_ROWS);
    int i;
    if (!hybrid__matmul_by_gemv(kernel, n)) {
        kernel->gemm(w->data, row_bytes, w->ne[0], part->acts, n, y, y_stride, r0, r1, scratch);
        return;
    }
    for (r = r0; r < r1; r = end) {
        end = HYBRID__MIN(r + step, r1);
        for (i = 0; kernel->few && i + HYBRID__MATMUL_FEW <= n; i += HYBRID__MATMUL_FEW)
            kernel->few(w->data, row_bytes, w->ne[0], part->acts + (size_t)i * part->act_bytes, y + i * y_stride + (r - r0), y_stride, r, end);
        for (; i < n; i++) hybrid__matmul_gemv(part, w, part->acts + (size_t)i * part->act_bytes, y + i * y_stride + (r - r0), r, end);
    }
}

static void hybrid__matmul_chunk(void *arg, int chunk, int lane)
{
    hybrid__matmul_job *job = (hybrid__matmul_job *)arg;
    const hybrid__op_matmul *op = job->op;
    char *scratch = job->lane_scratch + (size_t)lane * job->lane_bytes;
    float *tile = (float *)(void *)(scratch + job->tile_at);
    const hybrid__matmul_out *out;
    const hybrid__matmul_part *part;
    int64_t r0, r1, stride;
    float *y;
    int i, p = op->n_out - 1;
    while (!job->part[p].kernel || job->part[p].first_chunk > chunk) p--;
    out = &op->out[p];
    part = &job->part[p];
    r0 = (chunk - part->first_chunk) * part->chunk_rows;
    r1 = HYBRID__MIN(r0 + part->chunk_rows, out->w->ne[1]);
    y = out->add ? tile : out->y + r0;
    stride = out->add ? part->chunk_rows : out->y_stride;
    hybrid__matmul_rows(part, out->w, op->n, y, stride, r0, r1, scratch);
    for (i = 0; i < op->n; i++) {
        float *t = y + i * stride;
        if (out->bias) job->rows->add(t, t, out->bias + r0, r1 - r0);
        if (out->add) job->rows->add(out->y + i * out->y_stride + r0, out->add + i * out->add_stride + r0, t, r1 - r0);
    }
}

/* All matrices of op must have the same ne[0] and a type that hybrid__matmul_kernel_for knows (the model's loader checks both).
 * scratch: hybrid__matmul_bytes(isa, hybrid__lanes(rt), op), aligned to 64. x and y may not overlap. */
static void hybrid__matmul_run(hybrid_runtime *rt, hybrid__isa isa, void *scratch, const hybrid__op_matmul *op)
{
    hybrid__matmul_job job;
    hybrid__matmul_plan(&job, isa, hybrid__lanes(rt), (char *)scratch, op);
    if (!job.n_chunks) return;
    hybrid__parallel(rt, (op->n + HYBRID__MATMUL_PREPARE - 1) / HYBRID__MATMUL_PREPARE, hybrid__matmul_prepare, &job);
    hybrid__parallel(rt, job.n_chunks, hybrid__matmul_chunk, &job);
}
