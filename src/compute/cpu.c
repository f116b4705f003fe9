/* compute/cpu: the CPU back end: the op table over the kernels of one instruction set, split over the lanes of the runtime. Work is split by
 * output element only, so that no result depends on the number of lanes. */

enum {
    HYBRID__CPU_SPLIT = 4096               /* values that are worth a chunk of their own in element-wise work (a few microseconds) */
};

typedef struct hybrid__cpu {
    hybrid__backend base;
    const hybrid__cpu_kernels *kernels;
    hybrid__isa isa;
    char   *scratch;                       /* of the op in progress: shared by all ops */
    size_t  lane_bytes;                    /* attention's part of it for one lane */
} hybrid__cpu;

/* Notes one matrix, or those of experts (type and sizes; data is not read). n_rows and n_expert_used must be set. False: no kernel for its type. */
static bool hybrid__cpu_limits_matrix(const hybrid_runtime *rt, hybrid__limits *limits, const hybrid__tensor *w)
{
    hybrid__op_matmul op;
    hybrid__matmul_job job;
    int n, f, lanes;
    memset(&op, 0, sizeof op);
    op.n_out = 1;
    op.out[0].w = w;
    if (!hybrid__matmul_kernel_for(rt->isa, w->type)) return false;
    if (w->ne[2] > 1) {
        limits->experts_bytes = HYBRID__MAX(limits->experts_bytes, hybrid__experts_bytes(rt, limits, w));
        return true;
    }
    for (n = 1; n <= limits->n_rows; n = n < 16 || n == limits->n_rows ? n + 1 : limits->n_rows) {    /* small batches are split in another way */
        op.n = n;
        for (lanes = 1; lanes <= hybrid__lanes(rt); lanes++) {                                         /* a thread may fail to start */
            hybrid__matmul_plan(&job, rt->isa, lanes, NULL, &op);
            if (!job.n_chunks) return true;
            limits->lanes_bytes = HYBRID__MAX(limits->lanes_bytes, job.lane_bytes * (size_t)lanes);
        }
        for (f = 0; f < limits->n_formats && limits->format[f] != job.format[0]; f++) {}
        if (f == HYBRID__LIMIT_FORMATS) return false;
        limits->n_formats = HYBRID__MAX(limits->n_formats, f + 1);
        limits->format[f] = job.format[0];
        limits->format_bytes[f] = HYBRID__MAX(limits->format_bytes[f], job.part[0].act_bytes * (size_t)n);
    }
    return true;
}

/* Bytes of scratch that a back end with these limits allocates, and never exceeds. */
static size_t hybrid__cpu_scratch_bytes(const hybrid_runtime *rt, const hybrid__limits *limits)
{
    size_t attention = hybrid__attention_bytes(limits->head_dim_k, limits->head_dim_v) * (size_t)hybrid__lanes(rt), matmul = limits->lanes_bytes;
    int f;
    for (f = 0; f < limits->n_formats; f++) matmul += limits->format_bytes[f];
    return HYBRID__MAX(HYBRID__MAX(attention, matmul), limits->experts_bytes);
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

/* What the chunks of one op read. rows_a_chunk or pieces: see each. */
typedef struct hybrid__cpu_job {
    const hybrid__cpu *cpu;
    const void *op;
    int64_t n_rows, rows_a_chunk;
} hybrid__cpu_job;

static hybrid__cpu *hybrid__cpu_of(hybrid__backend *be) { return (hybrid__cpu *)be; }

/* Runs fn over n_rows rows of n values each, in chunks of some thousand values. */
static void hybrid__cpu_rows(hybrid__backend *be, const void *op, int64_t n_rows, int64_t n, hybrid__chunk_fn fn)
{
    hybrid__cpu_job job;
    job.cpu = hybrid__cpu_of(be);
    job.op = op;
    job.n_rows = n_rows;
    job.rows_a_chunk = HYBRID__MAX(HYBRID__CPU_SPLIT / HYBRID__MAX(n, 1), 1);
    hybrid__parallel(be->rt, (int)((n_rows + job.rows_a_chunk - 1) / job.rows_a_chunk), fn, &job);
}
static int64_t hybrid__cpu_row_begin(const hybrid__cpu_job *job, int chunk) { return chunk * job->rows_a_chunk; }
static int64_t hybrid__cpu_row_end(const hybrid__cpu_job *job, int chunk) { return HYBRID__MIN((chunk + 1) * job->rows_a_chunk, job->n_rows); }

static void hybrid__cpu_embed_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_embed *op = (const hybrid__op_embed *)job->op;
    const hybrid__type_traits *type = hybrid__type_info(op->table->type);
    const hybrid__cpu_kernels *kernels = job->cpu->kernels;
    int64_t row, end = hybrid__cpu_row_end(job, chunk), i, n = op->table->ne[0];
    const hybrid__batch *batch = job->cpu->base.batch;
    const int32_t *index = op->index == HYBRID__INDEX_ID ? batch->ids : op->index == HYBRID__INDEX_POS ? batch->pos : batch->out;
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) {
        const char *src = (const char *)op->table->data + (size_t)index[row] * op->table->nb[1];
        const float *add = op->add ? op->add + row * n : NULL;
        float *out = op->out + row * n, piece[HYBRID__QK_K];
        if (!add) {
            type->dequantize_row(src, out, (size_t)n);
            if (op->scale != 1.0f) kernels->scale(out, out, op->scale, n);
        } else for (i = 0; i < n; i += HYBRID__QK_K) {
            size_t part = (size_t)HYBRID__MIN(n - i, (int64_t)HYBRID__QK_K);
            type->dequantize_row(src + (size_t)i / type->block_size * type->block_bytes, piece, part);
            kernels->add_scaled(out + i, add + i, piece, op->scale, (int64_t)part);
        }
    }
}
static void hybrid__cpu_embed(hybrid__backend *be, const hybrid__op_embed *op)
{
    hybrid__cpu_rows(be, op, op->index == HYBRID__INDEX_OUT ? be->batch->n_out : be->batch->n, op->table->ne[0], hybrid__cpu_embed_chunk);
}

static void hybrid__cpu_norm_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_norm *op = (const hybrid__op_norm *)job->op;
    int64_t at, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < end; at++) {
        int64_t row = at / op->n_group, group = at % op->n_group * op->n;
        job->cpu->kernels->norm(op, op->x + row * op->x_stride + group, op->out + row * op->out_stride + group);
    }
}
static void hybrid__cpu_norm(hybrid__backend *be, const hybrid__op_norm *op) { hybrid__cpu_rows(be, op, op->n_rows * op->n_group, op->n, hybrid__cpu_norm_chunk); }

static void hybrid__cpu_rope_table_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_rope_table *op = (const hybrid__op_rope_table *)job->op;
    int64_t row, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) {
        float *table = op->table + row * op->n_rot;
        int i;
        for (i = 0; i < op->n_rot / 2; i++) {
            double c, s;
            hybrid__sincos(job->cpu->base.batch->pos[row] * op->inv_freq[i], &s, &c);
            table[2 * i] = (float)c * op->scale;
            table[2 * i + 1] = (float)s * op->scale;
        }
    }
}
static void hybrid__cpu_rope_table(hybrid__backend *be, const hybrid__op_rope_table *op)
{
    hybrid__cpu_rows(be, op, be->batch->n, (int64_t)op->n_rot * 16, hybrid__cpu_rope_table_chunk);      /* a sine costs about 16 simple values */
}

static void hybrid__cpu_rope_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    int64_t row, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) job->cpu->kernels->rope((const hybrid__op_rope *)job->op, (int)row);
}
static void hybrid__cpu_rope(hybrid__backend *be, const hybrid__op_rope *op) { hybrid__cpu_rows(be, op, op->n, (int64_t)op->n_head * op->n_rot, hybrid__cpu_rope_chunk); }

static void hybrid__cpu_route_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    int64_t row, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) hybrid__route_row((const hybrid__op_route *)job->op, row);
}
static void hybrid__cpu_route(hybrid__backend *be, const hybrid__op_route *op)
{
    hybrid__cpu_rows(be, op, op->n, (int64_t)op->n_expert * 16, hybrid__cpu_route_chunk);              /* so does an e^x in scalar C */
}

/* ---- values: rows are split too, so that a single long row uses all lanes --------------------------------------------- */

static void hybrid__cpu_glu_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_glu *op = (const hybrid__op_glu *)job->op;
    int64_t pieces = (op->n + HYBRID__CPU_SPLIT - 1) / HYBRID__CPU_SPLIT, at, row;
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < hybrid__cpu_row_end(job, chunk); at++) {
        int64_t i = at % pieces * HYBRID__CPU_SPLIT;
        row = at / pieces;
        job->cpu->kernels->glu(op->act, op->gate + row * op->gate_stride + i, op->up ? op->up + row * op->up_stride + i : NULL,
            op->out + row * op->out_stride + i, HYBRID__MIN(op->n - i, (int64_t)HYBRID__CPU_SPLIT));
    }
}
static void hybrid__cpu_glu(hybrid__backend *be, const hybrid__op_glu *op)
{
    int64_t pieces = (op->n + HYBRID__CPU_SPLIT - 1) / HYBRID__CPU_SPLIT;
    hybrid__cpu_rows(be, op, op->n_rows * pieces, HYBRID__MIN(op->n, (int64_t)HYBRID__CPU_SPLIT), hybrid__cpu_glu_chunk);
}

/* A piece takes the part of all experts, so it is shorter by their number. */
static int64_t hybrid__cpu_combine_piece(const hybrid__op_combine *op) { return (int64_t)hybrid__align((size_t)(HYBRID__CPU_SPLIT / op->n_used), 64); }
static void hybrid__cpu_combine_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_combine *op = (const hybrid__op_combine *)job->op;
    int64_t piece = hybrid__cpu_combine_piece(op), pieces = (op->n_embd + piece - 1) / piece, at;
    int s;
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < hybrid__cpu_row_end(job, chunk); at++) {
        int64_t row = at / pieces, i = at % pieces * piece, n = HYBRID__MIN(op->n_embd - i, piece);
        float *out = op->out + row * op->n_embd + i;
        const float *sum = op->add + row * op->n_embd + i;
        for (s = 0; s < op->n_used; s++, sum = out) {
            const int64_t choice = row * op->n_used + s;
            job->cpu->kernels->add_scaled(out, sum, op->x + choice * op->n_embd + i, op->weights[choice], n);
        }
    }
}
static void hybrid__cpu_combine(hybrid__backend *be, const hybrid__op_combine *op)
{
    int64_t piece = hybrid__cpu_combine_piece(op);
    hybrid__cpu_rows(be, op, op->n * ((op->n_embd + piece - 1) / piece), HYBRID__MIN(op->n_embd, piece) * op->n_used, hybrid__cpu_combine_chunk);
}

static void hybrid__cpu_add_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_add *op = (const hybrid__op_add *)job->op;
    const int64_t at = hybrid__cpu_row_begin(job, chunk);
    HYBRID__UNUSED(lane);
    job->cpu->kernels->add(op->out + at, op->a + at, op->b + at, hybrid__cpu_row_end(job, chunk) - at);
}
static void hybrid__cpu_add(hybrid__backend *be, const hybrid__op_add *op) { hybrid__cpu_rows(be, op, op->n, 1, hybrid__cpu_add_chunk); }

static void hybrid__cpu_scale_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_scale *op = (const hybrid__op_scale *)job->op;
    const int64_t at = hybrid__cpu_row_begin(job, chunk);
    HYBRID__UNUSED(lane);
    job->cpu->kernels->scale(op->out + at, op->x + at, op->factor, hybrid__cpu_row_end(job, chunk) - at);
}
static void hybrid__cpu_scale(hybrid__backend *be, const hybrid__op_scale *op) { hybrid__cpu_rows(be, op, op->n, 1, hybrid__cpu_scale_chunk); }

static void hybrid__cpu_softcap_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_softcap *op = (const hybrid__op_softcap *)job->op;
    const int64_t at = hybrid__cpu_row_begin(job, chunk);
    HYBRID__UNUSED(lane);
    job->cpu->kernels->softcap(op->out + at, op->x + at, op->cap, hybrid__cpu_row_end(job, chunk) - at);
}
static void hybrid__cpu_softcap(hybrid__backend *be, const hybrid__op_softcap *op) { hybrid__cpu_rows(be, op, op->n, 1, hybrid__cpu_softcap_chunk); }

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

static void hybrid__cpu_kv_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_kv_store *op = (const hybrid__op_kv_store *)job->op;
    const hybrid__kv_view *kv = op->kv;
    int64_t at;
    int h;
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < hybrid__cpu_row_end(job, chunk); at++) {
        const hybrid__run *run = job->cpu->base.batch->runs;
        int64_t r = at, row;
        int32_t pos, page, slot;
        while (r >= run->n_rows) r -= run++->n_rows;
        row = run->first_row + r;
        pos = run->pos + (int32_t)r;
        page = run->pages[pos / HYBRID__PAGE];
        slot = pos % HYBRID__PAGE;
        for (h = 0; h < kv->n_head_kv; h++) {
            job->cpu->kernels->kv_row(kv->type, op->k + row * op->k_stride + (int64_t)h * kv->head_dim_k, (char *)hybrid__k_row(kv, page, h, slot), kv->head_dim_k);
            job->cpu->kernels->kv_row(kv->type, op->v + row * op->v_stride + (int64_t)h * kv->head_dim_v, (char *)hybrid__v_row(kv, page, h, slot), kv->head_dim_v);
        }
    }
}
static void hybrid__cpu_kv_store(hybrid__backend *be, const hybrid__op_kv_store *op)
{
    const hybrid__kv_view *kv = op->kv;
    hybrid__cpu_rows(be, op, be->batch->n, (int64_t)kv->n_head_kv * (kv->head_dim_k + kv->head_dim_v), hybrid__cpu_kv_chunk);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

/* A chunk is a block of rows of one run times some query heads of one kv head: as many as fit in HYBRID__ATTENTION_QUERIES, fewer when
 * there would be too few chunks for the lanes. */
typedef struct hybrid__cpu_attention_job {
    const hybrid__cpu *cpu;
    const hybrid__op_attention *op;
    int heads, rows;                       /* of a chunk */
    int head_chunks;                       /* chunks of heads, over all kv heads */
} hybrid__cpu_attention_job;

static void hybrid__cpu_attention_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_attention_job *job = (const hybrid__cpu_attention_job *)arg;
    const hybrid__op_attention *op = job->op;
    const hybrid__run *run = job->cpu->base.batch->runs;
    int group = op->n_head / op->kv->n_head_kv, per_group = (group + job->heads - 1) / job->heads;
    int h = chunk % job->head_chunks, head0 = h / per_group * group + h % per_group * job->heads, block = chunk / job->head_chunks, blocks;
    int n_heads = HYBRID__MIN(job->heads, h / per_group * group + group - head0), row0;
    while (block >= (blocks = (run->n_rows + job->rows - 1) / job->rows)) { block -= blocks; run++; }
    row0 = (blocks - 1 - block) * job->rows;                                           /* the long rows first: a short one evens out the end */
    job->cpu->kernels->attention(op, run, row0, HYBRID__MIN(job->rows, run->n_rows - row0), head0, n_heads, job->cpu->scratch + (size_t)lane * job->cpu->lane_bytes);
}

static void hybrid__cpu_attention(hybrid__backend *be, const hybrid__op_attention *op)
{
    hybrid__cpu_attention_job job;
    int group = op->n_head / op->kv->n_head_kv, n = be->batch->n, lanes = hybrid__lanes(be->rt), blocks = 0, i;
    job.cpu = hybrid__cpu_of(be);
    job.op = op;
    job.heads = HYBRID__MIN(group, HYBRID__ATTENTION_QUERIES);
    while (job.heads > 1 && (int64_t)n * op->kv->n_head_kv * ((group + job.heads - 1) / job.heads) < 2 * lanes) job.heads = (job.heads + 1) / 2;
    job.rows = HYBRID__ATTENTION_QUERIES / job.heads;
    job.head_chunks = op->kv->n_head_kv * ((group + job.heads - 1) / job.heads);
    for (i = 0; i < be->batch->n_runs; i++) blocks += (be->batch->runs[i].n_rows + job.rows - 1) / job.rows;
    hybrid__parallel(be->rt, blocks * job.head_chunks, hybrid__cpu_attention_chunk, &job);
}

/* ---- the largest logits: plain, since on the host whoever wants them can look at all of them ---------------------------- */

static void hybrid__cpu_top_k_row(const hybrid__op_top_k *op, int32_t row)
{
    const float *x = op->logits + row * op->stride;
    int32_t *ids = op->ids + row * op->k, i, at, n = 0;
    float *values = op->values + row * op->k, sum = 0;
    for (i = 0; i < op->n; i++) {
        if (n == op->k && !(x[i] > values[n - 1])) continue;
        for (at = n < op->k ? n++ : n - 1; at > 0 && x[i] > values[at - 1]; at--) { ids[at] = ids[at - 1]; values[at] = values[at - 1]; }
        ids[at] = i;
        values[at] = x[i];
    }
    for (; n < op->k; n++) { ids[n] = -1; values[n] = -INFINITY; }
    for (i = 0; i < op->n; i++) sum += hybrid__exp_scalar(x[i] - values[0]);
    op->stats[2 * row] = values[0];
    op->stats[2 * row + 1] = sum;
}
static void hybrid__cpu_top_k(hybrid__backend *be, const hybrid__op_top_k *op)
{
    int32_t row;
    HYBRID__UNUSED(be);
    for (row = 0; row < op->n_rows; row++) hybrid__cpu_top_k_row(op, row);
}

/* ---- products: matmul.c and cpu_experts.c ------------------------------------------------------------------------------ */

static void hybrid__cpu_matmul(hybrid__backend *be, const hybrid__op_matmul *op)
{
    hybrid__cpu *cpu = hybrid__cpu_of(be);
    if (hybrid__form_refused(op->form)) be->refused = hybrid__form_refused(op->form);
    else hybrid__matmul_run(be->rt, cpu->isa, cpu->scratch, op);
}

static void hybrid__cpu_experts(hybrid__backend *be, const hybrid__op_experts *op)
{
    hybrid__cpu *cpu = hybrid__cpu_of(be);
    if (hybrid__form_refused(op->form)) be->refused = hybrid__form_refused(op->form);
    else hybrid__experts_run(be->rt, cpu->isa, cpu->scratch, op);
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

static hybrid__pass hybrid__cpu_pass_begin(hybrid__backend *be) { HYBRID__UNUSED(be); return HYBRID__PASS_RUN; }
static bool hybrid__cpu_pass_end(hybrid__backend *be) { HYBRID__UNUSED(be); return true; }
static void hybrid__cpu_rehearse(hybrid__backend *be, bool on) { HYBRID__UNUSED(be); HYBRID__UNUSED(on); }      /* it is always ready: nobody asks */

/* Host and device are the same memory. */
static void hybrid__cpu_begin(hybrid__backend *be, const hybrid__batch *batch)
{
    be->batch = batch;
    be->refused = NULL;
}
static void hybrid__cpu_copy(hybrid__backend *be, void *dst, const void *src, size_t bytes) { HYBRID__UNUSED(be); memcpy(dst, src, bytes); }
static void hybrid__cpu_write(hybrid__backend *be, void *dst, const void *host, size_t bytes) { hybrid__cpu_copy(be, dst, host, bytes); }
static void hybrid__cpu_read(hybrid__backend *be, void *host, const void *src, size_t bytes) { hybrid__cpu_copy(be, host, src, bytes); }
static hybrid_result hybrid__cpu_sync(hybrid__backend *be, hybrid_error *error) { return hybrid__refused(be, error); }

static void hybrid__cpu_destroy(hybrid__backend *be)
{
    hybrid_runtime *rt;
    if (!be) return;
    rt = be->rt;
    hybrid__free_aligned(rt, hybrid__cpu_of(be)->scratch);
    hybrid__free(rt, be);
    hybrid__runtime_release(rt);
}

/* A back end for ops within limits. Keeps rt alive. One thread at a time. HYBRID_ERROR_MEMORY. */
static hybrid_result hybrid__cpu_backend_create(hybrid_runtime *rt, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error)
{
    static const hybrid__backend_ops ops = {
        "cpu",
#define HYBRID__OP(name_) hybrid__cpu_##name_,
#define HYBRID__PARTS(name_) NULL,
        HYBRID__OPS(HYBRID__OP, HYBRID__PARTS)
#undef HYBRID__OP
#undef HYBRID__PARTS
#define HYBRID__CALL(result_, name_, parameters_) hybrid__cpu_##name_,
        HYBRID__BACKEND_CALLS(HYBRID__CALL)
#undef HYBRID__CALL
    };
    size_t bytes = hybrid__cpu_scratch_bytes(rt, limits);
    hybrid__cpu *cpu = (hybrid__cpu *)hybrid__calloc(rt, 1, sizeof *cpu);
    *be = NULL;
    if (!cpu) return hybrid__fail_memory(error, sizeof *cpu);
    if (!(cpu->scratch = (char *)hybrid__alloc_aligned(rt, bytes))) {
        hybrid__free(rt, cpu);
        return hybrid__fail_memory(error, bytes);
    }
    cpu->base.ops = &ops;
    cpu->base.rt = rt;
    cpu->isa = rt->isa;
    cpu->kernels = hybrid__cpu_kernels_for(rt->isa);
    cpu->lane_bytes = hybrid__attention_bytes(limits->head_dim_k, limits->head_dim_v);
    hybrid__atomic_add(&rt->references, 1);
    *be = &cpu->base;
    return HYBRID_OK;
}

/* ---- the host as a device ---- */

static hybrid_result hybrid__host_alloc(hybrid__device *device, size_t bytes, void **address, hybrid_error *error)
{
    *address = hybrid__alloc_aligned(device->rt, bytes);
    return *address ? HYBRID_OK : hybrid__fail_memory(error, bytes);
}
static void hybrid__host_free(hybrid__device *device, void *address) { hybrid__free_aligned(device->rt, address); }
static uint64_t hybrid__host_cost(hybrid__device *device, size_t bytes) { HYBRID__UNUSED(device); return (uint64_t)bytes + HYBRID__ALIGNED_EXTRA; }
static bool hybrid__host_fits(hybrid__device *device, uint64_t bytes) { HYBRID__UNUSED(device); HYBRID__UNUSED(bytes); return true; }
static hybrid_result hybrid__host_write(hybrid__device *device, void *dst, const void *host, size_t bytes, hybrid_error *error)
{
    HYBRID__UNUSED(device); HYBRID__UNUSED(error);
    memcpy(dst, host, bytes);
    return HYBRID_OK;
}
static hybrid_result hybrid__host_flush(hybrid__device *device, hybrid_error *error) { HYBRID__UNUSED(device); HYBRID__UNUSED(error); return HYBRID_OK; }
static bool hybrid__host_attends(hybrid__device *device, const hybrid__limits *limits) { HYBRID__UNUSED(device); HYBRID__UNUSED(limits); return true; }
static bool hybrid__host_show(hybrid__device *device, hybrid__limits *limits, const hybrid__tensor *w) { return hybrid__cpu_limits_matrix(device->rt, limits, w); }
static uint64_t hybrid__host_backend_cost(hybrid__device *device, const hybrid__limits *limits)
{
    return sizeof(hybrid__cpu) + hybrid__host_cost(device, hybrid__cpu_scratch_bytes(device->rt, limits));
}
static hybrid_result hybrid__host_backend_create(hybrid__device *device, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error)
{
    return hybrid__cpu_backend_create(device->rt, limits, be, error);
}

static void hybrid__host_device(hybrid__device *device, hybrid_runtime *rt)
{
    static const hybrid__device_ops ops = {
        true, hybrid__host_alloc, hybrid__host_free, hybrid__host_cost, hybrid__host_fits, hybrid__host_write, hybrid__host_flush, hybrid__host_attends, hybrid__host_show,
        hybrid__host_backend_cost, hybrid__host_backend_create
    };
    device->ops = &ops;
    device->rt = rt;
}
