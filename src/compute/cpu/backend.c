/* compute/cpu/backend: the CPU back end: the op table over the kernels of one instruction set, split over the lanes of
 * the runtime. Work is split by output element only, so that no result depends on the number of lanes. */
#ifndef HYB_COMPUTE_CPU_BACKEND_C
#define HYB_COMPUTE_CPU_BACKEND_C
#include "../../core/lifetime.c"
#include "lowrank.c"
#include "trig.c"
#include "experts_back.c"
#include "rssm/members.c"

static void hyb_cpu_limits_lanes(hyb_limits *limits, const hyb_matmul_job *job, size_t lanes)
{
    limits->kernels_bytes = HYB_MAX(limits->kernels_bytes, job->decoded_at * lanes);
    limits->decoded_bytes = HYB_MAX(limits->decoded_bytes, (job->tile_at - job->decoded_at) * lanes);
    limits->tiles_bytes = HYB_MAX(limits->tiles_bytes, (job->lane_bytes - job->tile_at) * lanes);
}

/* Notes one matrix, or those of experts (type and sizes; data is not read). n_rows and n_expert_used must be set.
 * False: no kernel for its type. */
static bool hyb_cpu_limits_matrix(const hybrid_runtime *rt, hyb_limits *limits, const hyb_tensor *w)
{
    hyb_op_matmul op;
    hyb_matmul_job job;
    int n, f, lanes;
    memset(&op, 0, sizeof op);
    op.n_out = 1;
    op.out[0].w = w;
    if (!hyb_matmul_kernel_for(rt->isa, w->type)) return false;
    if (w->ne[2] > 1) {
        limits->experts_bytes = HYB_MAX(limits->experts_bytes, hyb_experts_bytes(rt, limits, w));
        return true;
    }
    /* small batches are split in another way */
    for (n = 1; n <= limits->n_rows; n = n < 16 || n == limits->n_rows ? n + 1 : limits->n_rows) {
        op.n = n;
        for (lanes = 1; lanes <= hyb_lanes(rt); lanes++) { /* a thread may fail to start */
            hyb_matmul_plan(&job, rt->isa, lanes, NULL, &op);
            if (!job.n_chunks) return true;
            hyb_cpu_limits_lanes(limits, &job, (size_t)lanes);
        }
        for (f = 0; f < limits->n_formats && limits->format[f] != job.format[0]; f++) {}
        if (f == HYB_LIMIT_FORMATS) return false;
        limits->n_formats = HYB_MAX(limits->n_formats, f + 1);
        limits->format[f] = job.format[0];
        limits->format_bytes[f] = HYB_MAX(limits->format_bytes[f], job.part[0].act_bytes * (size_t)n);
    }
    return true;
}

/* Bytes of scratch that a back end with these limits allocates, and never exceeds. */
static size_t hyb_cpu_scratch_bytes(const hybrid_runtime *rt, const hyb_limits *limits)
{
    size_t attention = hyb_attention_bytes(limits->head_dim_k, limits->head_dim_v) * (size_t)hyb_lanes(rt),
           matmul = limits->kernels_bytes + limits->decoded_bytes + limits->tiles_bytes;
    int f;
    for (f = 0; f < limits->n_formats; f++) matmul += limits->format_bytes[f];
    matmul = HYB_MAX(matmul, hyb_cpu_train_bytes(limits) * (size_t)hyb_lanes(rt));
    return HYB_MAX(HYB_MAX(attention, matmul), limits->experts_bytes);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void hyb_cpu_embed_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_embed *op = (const hyb_op_embed *)job->op;
    const hyb_type_traits *type = hyb_type_info(op->table->type);
    const hyb_cpu_kernels *kernels = job->cpu->kernels;
    int64_t row, end = hyb_cpu_row_end(job, chunk), i, n = op->table->ne[0];
    const hyb_batch *batch = job->cpu->base.batch;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++) {
        const char *src = (const char *)op->table->data + (size_t)index[row] * op->table->nb[1];
        const float *add = op->add ? op->add + row * n : NULL;
        float *out = op->out + row * n, piece[HYB_QK_K];
        if (!add) {
            type->dequantize_row(src, out, (size_t)n);
            if (op->scale != 1.0f) kernels->scale(out, out, op->scale, n);
        } else
            for (i = 0; i < n; i += HYB_QK_K) {
                size_t part = (size_t)HYB_MIN(n - i, (int64_t)HYB_QK_K);
                type->dequantize_row(src + (size_t)i / type->block_size * type->block_bytes, piece, part);
                kernels->add_scaled(out + i, add + i, piece, op->scale, (int64_t)part);
            }
    }
}
static void hyb_cpu_embed(hyb_backend *be, const hyb_op_embed *op)
{
    hyb_cpu_rows(be, op, op->index == HYB_INDEX_OUT ? be->batch->n_out : be->batch->n, op->table->ne[0],
                 hyb_cpu_embed_chunk);
}

static void hyb_cpu_norm_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_norm *op = (const hyb_op_norm *)job->op;
    int64_t at, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < end; at++) {
        int64_t row = at / op->n_group, group = at % op->n_group * op->n;
        job->cpu->kernels->norm(op, op->x + row * op->x_stride + group, op->out + row * op->out_stride + group);
    }
}
static void hyb_cpu_norm(hyb_backend *be, const hyb_op_norm *op)
{
    hyb_cpu_rows(be, op, op->n_rows * op->n_group, op->n, hyb_cpu_norm_chunk);
}

static void hyb_cpu_rope_table_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_rope_table *op = (const hyb_op_rope_table *)job->op;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++) {
        float *table = op->table + row * op->n_rot;
        int i;
        for (i = 0; i < op->n_rot / 2; i++) {
            double c, s;
            hyb_sincos(job->cpu->base.batch->pos[row] * op->inv_freq[i], &s, &c);
            table[2 * i] = (float)c * op->scale;
            table[2 * i + 1] = (float)s * op->scale;
        }
    }
}
static void hyb_cpu_rope_table(hyb_backend *be, const hyb_op_rope_table *op)
{
    /* a sine costs about 16 simple values */
    hyb_cpu_rows(be, op, be->batch->n, (int64_t)op->n_rot * 16, hyb_cpu_rope_table_chunk);
}

static void hyb_cpu_rope_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++)
        job->cpu->kernels->rope((const hyb_op_rope *)job->op, (int)row);
}
static void hyb_cpu_rope(hyb_backend *be, const hyb_op_rope *op)
{
    hyb_cpu_rows(be, op, op->n, (int64_t)op->n_head * op->n_rot, hyb_cpu_rope_chunk);
}

static void hyb_cpu_route_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++) hyb_route_row((const hyb_op_route *)job->op, row);
}
static void hyb_cpu_route(hyb_backend *be, const hyb_op_route *op)
{
    hyb_cpu_rows(be, op, op->n, (int64_t)op->n_expert * 16, hyb_cpu_route_chunk); /* so does an e^x in scalar C */
}

/* ---- values: rows are split too, so that a single long row uses all lanes ---------------------------------------- */

static void hyb_cpu_glu_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_glu *op = (const hyb_op_glu *)job->op;
    int64_t pieces = (op->n + HYB_CPU_SPLIT - 1) / HYB_CPU_SPLIT, at, row;
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < hyb_cpu_row_end(job, chunk); at++) {
        int64_t i = at % pieces * HYB_CPU_SPLIT;
        row = at / pieces;
        job->cpu->kernels->glu(op->act, op->gate + row * op->gate_stride + i,
                               op->up ? op->up + row * op->up_stride + i : NULL, op->out + row * op->out_stride + i,
                               HYB_MIN(op->n - i, (int64_t)HYB_CPU_SPLIT));
    }
}
static void hyb_cpu_glu(hyb_backend *be, const hyb_op_glu *op)
{
    int64_t pieces = (op->n + HYB_CPU_SPLIT - 1) / HYB_CPU_SPLIT;
    hyb_cpu_rows(be, op, op->n_rows * pieces, HYB_MIN(op->n, (int64_t)HYB_CPU_SPLIT), hyb_cpu_glu_chunk);
}

/* A piece takes the part of all experts, so it is shorter by their number. */
static int64_t hyb_cpu_combine_piece(const hyb_op_combine *op)
{
    return (int64_t)hyb_align((size_t)(HYB_CPU_SPLIT / op->n_used), 64);
}
static void hyb_cpu_combine_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_combine *op = (const hyb_op_combine *)job->op;
    int64_t piece = hyb_cpu_combine_piece(op), pieces = (op->n_embd + piece - 1) / piece, at;
    int s;
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < hyb_cpu_row_end(job, chunk); at++) {
        int64_t row = at / pieces, i = at % pieces * piece, n = HYB_MIN(op->n_embd - i, piece);
        float *out = op->out + row * op->n_embd + i;
        const float *sum = op->add + row * op->n_embd + i;
        for (s = 0; s < op->n_used; s++, sum = out) {
            const int64_t choice = row * op->n_used + s;
            job->cpu->kernels->add_scaled(out, sum, op->x + choice * op->n_embd + i, op->weights[choice], n);
        }
    }
}
static void hyb_cpu_combine(hyb_backend *be, const hyb_op_combine *op)
{
    int64_t piece = hyb_cpu_combine_piece(op);
    hyb_cpu_rows(be, op, op->n * ((op->n_embd + piece - 1) / piece), HYB_MIN(op->n_embd, piece) * op->n_used,
                 hyb_cpu_combine_chunk);
}

static void hyb_cpu_add_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_add *op = (const hyb_op_add *)job->op;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->add(op->out + at, op->a + at, op->b + at, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_add(hyb_backend *be, const hyb_op_add *op) { hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_add_chunk); }

static void hyb_cpu_scale_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_scale *op = (const hyb_op_scale *)job->op;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->scale(op->out + at, op->x + at, op->factor, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_scale(hyb_backend *be, const hyb_op_scale *op)
{
    hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_scale_chunk);
}

static void hyb_cpu_softcap_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_softcap *op = (const hyb_op_softcap *)job->op;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->softcap(op->out + at, op->x + at, op->cap, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_softcap(hyb_backend *be, const hyb_op_softcap *op)
{
    hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_softcap_chunk);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static void hyb_cpu_kv_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_kv_store *op = (const hyb_op_kv_store *)job->op;
    const hyb_kv_view *kv = op->kv;
    int64_t at;
    int h;
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < hyb_cpu_row_end(job, chunk); at++) {
        const hyb_run *run = job->cpu->base.batch->runs;
        int64_t r = at, row;
        int32_t pos, page, slot;
        while (r >= run->n_rows) r -= run++->n_rows;
        row = run->first_row + r;
        pos = run->pos + (int32_t)r;
        page = run->pages[pos / HYB_PAGE];
        slot = pos % HYB_PAGE;
        for (h = 0; h < kv->n_head_kv; h++) {
            job->cpu->kernels->kv_row(kv->type, op->k + row * op->k_stride + (int64_t)h * kv->head_dim_k,
                                      (char *)hyb_k_row(kv, page, h, slot), kv->head_dim_k);
            job->cpu->kernels->kv_row(kv->type, op->v + row * op->v_stride + (int64_t)h * kv->head_dim_v,
                                      (char *)hyb_v_row(kv, page, h, slot), kv->head_dim_v);
        }
    }
}
static void hyb_cpu_kv_store(hyb_backend *be, const hyb_op_kv_store *op)
{
    const hyb_kv_view *kv = op->kv;
    hyb_cpu_rows(be, op, be->batch->n, (int64_t)kv->n_head_kv * (kv->head_dim_k + kv->head_dim_v), hyb_cpu_kv_chunk);
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* A chunk is a block of rows of one run times some query heads of one kv head: as many as fit in HYB_ATTENTION_QUERIES,
 * fewer when there would be too few chunks for the lanes. */
typedef struct hyb_cpu_attention_job {
    const hyb_cpu *cpu;
    const hyb_op_attention *op;
    int heads, rows; /* of a chunk */
    int head_chunks; /* chunks of heads, over all kv heads */
} hyb_cpu_attention_job;

static void hyb_cpu_attention_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_attention_job *job = (const hyb_cpu_attention_job *)arg;
    const hyb_op_attention *op = job->op;
    const hyb_run *run = job->cpu->base.batch->runs;
    int group = op->n_head / op->kv->n_head_kv, per_group = (group + job->heads - 1) / job->heads;
    int h = chunk % job->head_chunks, head0 = h / per_group * group + h % per_group * job->heads,
        block = chunk / job->head_chunks, blocks;
    int n_heads = HYB_MIN(job->heads, h / per_group * group + group - head0), row0;
    while (block >= (blocks = (run->n_rows + job->rows - 1) / job->rows)) {
        block -= blocks;
        run++;
    }
    row0 = (blocks - 1 - block) * job->rows; /* the long rows first: a short one evens out the end */
    job->cpu->kernels->attention(op, run, row0, HYB_MIN(job->rows, run->n_rows - row0), head0, n_heads,
                                 job->cpu->scratch + (size_t)lane * job->cpu->lane_bytes);
}

static void hyb_cpu_attention(hyb_backend *be, const hyb_op_attention *op)
{
    hyb_cpu_attention_job job;
    int group = op->n_head / op->kv->n_head_kv, n = be->batch->n, lanes = hyb_lanes(be->rt), blocks = 0, i;
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    job.heads = HYB_MIN(group, HYB_ATTENTION_QUERIES);
    while (job.heads > 1 && (int64_t)n * op->kv->n_head_kv * ((group + job.heads - 1) / job.heads) < 2 * lanes)
        job.heads = (job.heads + 1) / 2;
    job.rows = HYB_ATTENTION_QUERIES / job.heads;
    job.head_chunks = op->kv->n_head_kv * ((group + job.heads - 1) / job.heads);
    for (i = 0; i < be->batch->n_runs; i++) blocks += (be->batch->runs[i].n_rows + job.rows - 1) / job.rows;
    hyb_cpu_parallel(be, blocks * job.head_chunks, hyb_cpu_attention_chunk, &job);
}

/* ---- recurrence: a run's rows follow each other, so columns or heads are split ----------------------------------- */

/* Columns of a chunk: fewer for long runs, more for those of a row; `each` values are computed for one. */
typedef struct hyb_cpu_columns_job {
    const hyb_cpu *cpu;
    const void *op;
    int64_t width, piece;
} hyb_cpu_columns_job;

static void hyb_cpu_columns(hyb_backend *be, const void *op, int64_t width, int each, hyb_chunk_fn fn)
{
    hyb_cpu_columns_job job;
    const int64_t rows = HYB_MAX(be->batch->n / HYB_MAX(be->batch->n_runs, 1), 1);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    job.width = width;
    job.piece = (int64_t)hyb_align((size_t)HYB_MAX(HYB_CPU_SPLIT / (rows * each), 1), 64);
    hyb_cpu_parallel(be, (int)(be->batch->n_runs * ((width + job.piece - 1) / job.piece)), fn, &job);
}

/* The run and the first column of a chunk. */
static const hyb_run *hyb_cpu_columns_chunk(const hyb_cpu_columns_job *job, int chunk, int64_t *at, int64_t *n)
{
    const int64_t pieces = (job->width + job->piece - 1) / job->piece;
    *at = chunk % pieces * job->piece;
    *n = HYB_MIN(job->piece, job->width - *at);
    return &job->cpu->base.batch->runs[chunk / pieces];
}

static void hyb_cpu_shift_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_columns_job *job = (const hyb_cpu_columns_job *)arg;
    int64_t at, n;
    const hyb_run *run = hyb_cpu_columns_chunk(job, chunk, &at, &n);
    HYB_UNUSED(lane);
    job->cpu->kernels->shift((const hyb_op_shift *)job->op, run, at, n);
}
static void hyb_cpu_shift(hyb_backend *be, const hyb_op_shift *op)
{
    hyb_cpu_columns(be, op, op->n_embd, op->n_mix, hyb_cpu_shift_chunk);
}

static void hyb_cpu_shortconv_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_columns_job *job = (const hyb_cpu_columns_job *)arg;
    int64_t at, n;
    const hyb_run *run = hyb_cpu_columns_chunk(job, chunk, &at, &n);
    HYB_UNUSED(lane);
    job->cpu->kernels->shortconv((const hyb_op_shortconv *)job->op, run, at, n);
}
static void hyb_cpu_shortconv(hyb_backend *be, const hyb_op_shortconv *op)
{
    hyb_cpu_columns(be, op, op->n_embd, op->n_taps, hyb_cpu_shortconv_chunk);
}

static void hyb_cpu_wkv7_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_wkv7 *op = (const hyb_op_wkv7 *)job->op;
    HYB_UNUSED(lane);
    job->cpu->kernels->wkv7(op, &job->cpu->base.batch->runs[chunk / op->n_head], chunk % op->n_head);
}
static void hyb_cpu_wkv7(hyb_backend *be, const hyb_op_wkv7 *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_cpu_parallel(be, be->batch->n_runs * op->n_head, hyb_cpu_wkv7_chunk, &job);
}

/* ---- the largest logits: plain, since on the host whoever wants them can look at all of them --------------------- */

static void hyb_cpu_top_k_row(const hyb_op_top_k *op, int32_t row)
{
    const float *x = op->logits + row * op->stride;
    int32_t *ids = op->ids + row * op->k, i, at, n = 0;
    float *values = op->values + row * op->k, sum = 0;
    for (i = 0; i < op->n; i++) {
        if (n == op->k && !(x[i] > values[n - 1])) continue;
        for (at = n < op->k ? n++ : n - 1; at > 0 && x[i] > values[at - 1]; at--) {
            ids[at] = ids[at - 1];
            values[at] = values[at - 1];
        }
        ids[at] = i;
        values[at] = x[i];
    }
    for (; n < op->k; n++) {
        ids[n] = -1;
        values[n] = -INFINITY;
    }
    for (i = 0; i < op->n; i++) sum += hyb_exp_scalar(x[i] - values[0]);
    op->stats[2 * row] = values[0];
    op->stats[2 * row + 1] = sum;
}
static void hyb_cpu_top_k(hyb_backend *be, const hyb_op_top_k *op)
{
    int32_t row;
    HYB_UNUSED(be);
    for (row = 0; row < op->n_rows; row++) hyb_cpu_top_k_row(op, row);
}

/* ---- products: matmul.c and cpu/experts.c ------------------------------------------------------------------------ */

static void hyb_cpu_matmul(hyb_backend *be, const hyb_op_matmul *op)
{
    hyb_cpu *cpu = hyb_cpu_of(be);
    if (op->in_chunks && hyb_cpu_matmul_in_chunks(be, op)) return;
    hyb_matmul_run_paced(be->rt, &cpu->pace, cpu->isa, cpu->scratch, op);
}

static void hyb_cpu_experts(hyb_backend *be, const hyb_op_experts *op)
{
    hyb_cpu *cpu = hyb_cpu_of(be);
    hyb_experts_run(be->rt, &cpu->pace, cpu->isa, cpu->scratch, op);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static hyb_pass hyb_cpu_pass_begin(hyb_backend *be)
{
    HYB_UNUSED(be);
    return HYB_PASS_RUN;
}
static bool hyb_cpu_pass_end(hyb_backend *be)
{
    HYB_UNUSED(be);
    return true;
}
/* never called: the host is always ready */
static void hyb_cpu_rehearse(hyb_backend *be, bool on)
{
    HYB_UNUSED(be);
    HYB_UNUSED(on);
}

/* Host and device are the same memory. */
static void hyb_cpu_begin(hyb_backend *be, const hyb_batch *batch) { be->batch = batch; }
static void hyb_cpu_copy(hyb_backend *be, void *dst, const void *src, size_t bytes)
{
    HYB_UNUSED(be);
    memcpy(dst, src, bytes);
}
static void hyb_cpu_zero(hyb_backend *be, void *dst, size_t bytes)
{
    HYB_UNUSED(be);
    memset(dst, 0, bytes);
}
static void hyb_cpu_write(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cpu_copy(be, dst, host, bytes);
}
static void hyb_cpu_read(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cpu_copy(be, host, src, bytes);
}
static void *hyb_cpu_stream(hyb_backend *be)
{
    HYB_UNUSED(be);
    return NULL;
}
static hybrid_result hyb_cpu_lanes(hyb_backend *be, hybrid_error *error)
{
    HYB_UNUSED(be);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static void hyb_cpu_upload(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cpu_copy(be, dst, host, bytes);
}
static void hyb_cpu_download(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cpu_copy(be, host, src, bytes);
}
static void hyb_cpu_await(hyb_backend *be, hyb_lane lane, hyb_lane other)
{
    HYB_UNUSED(be);
    HYB_UNUSED(lane);
    HYB_UNUSED(other);
}
static hybrid_result hyb_cpu_sync(hyb_backend *be, hybrid_error *error)
{
    HYB_UNUSED(be);
    HYB_UNUSED(error);
    return HYBRID_OK;
}

static void hyb_cpu_destroy(hyb_backend *be)
{
    hybrid_runtime *rt;
    if (!be) return;
    rt = be->rt;
    hyb_free_aligned(rt, hyb_cpu_of(be)->scratch);
    hyb_free(rt, be);
    hyb_runtime_release(rt);
}

/* A back end for ops within limits. Keeps rt alive. One thread at a time. HYBRID_ERROR_MEMORY. */
static hybrid_result hyb_cpu_backend_create(hybrid_runtime *rt, const hyb_limits *limits, hyb_backend **be,
                                            hybrid_error *error)
{
    /* clang-format off */
    static const hyb_backend_ops ops = {
        "cpu",
#define HYB_OP(name_)    hyb_cpu_##name_,
#define HYB_PARTS(name_) NULL,
        HYB_OPS(HYB_OP, HYB_PARTS)
#undef HYB_OP
#undef HYB_PARTS
#define HYB_CALL(result_, name_, parameters_) hyb_cpu_##name_,
        HYB_BACKEND_CALLS(HYB_CALL)
#undef HYB_CALL
#define HYB_OP(name_) hyb_cpu_##name_,
        HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
    };
    /* clang-format on */
    size_t bytes = hyb_cpu_scratch_bytes(rt, limits);
    hyb_cpu *cpu = (hyb_cpu *)hyb_calloc(rt, 1, sizeof *cpu);
    *be = NULL;
    if (!cpu) return hyb_fail_memory(error, sizeof *cpu);
    if (!(cpu->scratch = (char *)hyb_alloc_aligned(rt, bytes))) {
        hyb_free(rt, cpu);
        return hyb_fail_memory(error, bytes);
    }
    cpu->base.ops = &ops;
    cpu->base.rt = rt;
    cpu->isa = rt->isa;
    cpu->kernels = hyb_cpu_kernels_for(rt->isa);
    cpu->lane_bytes = hyb_attention_bytes(limits->head_dim_k, limits->head_dim_v);
    cpu->train_bytes = hyb_cpu_train_bytes(limits);
    hyb_atomic_add(&rt->references, 1);
    *be = &cpu->base;
    return HYBRID_OK;
}

/* ---- the host as a device ---------------------------------------------------------------------------------------- */

static hybrid_result hyb_host_alloc(hyb_device *device, size_t bytes, void **address, hybrid_error *error)
{
    *address = hyb_alloc_streamed(device->rt, bytes);
    return *address ? HYBRID_OK : hyb_fail_memory(error, bytes);
}
static void hyb_host_free(hyb_device *device, void *address) { hyb_free_aligned(device->rt, address); }
static uint64_t hyb_host_cost(hyb_device *device, size_t bytes)
{
    HYB_UNUSED(device);
    return (uint64_t)bytes + HYB_ALIGNED_EXTRA;
}
static hybrid_result hyb_host_alloc_host(hyb_device *device, size_t bytes, hyb_host_memory *memory, hybrid_error *error)
{
    memory->plain = true;
    memory->address = hyb_alloc(device->rt, bytes);
    return memory->address ? HYBRID_OK : hyb_fail_memory(error, bytes);
}
static void hyb_host_free_host(hyb_device *device, hyb_host_memory *memory)
{
    hyb_free(device->rt, memory->address);
    memory->address = NULL;
}
static bool hyb_host_fits(hyb_device *device, uint64_t bytes)
{
    HYB_UNUSED(device);
    HYB_UNUSED(bytes);
    return true;
}
static hybrid_result hyb_host_write(hyb_device *device, void *dst, const void *host, size_t bytes, hybrid_error *error)
{
    HYB_UNUSED(device);
    HYB_UNUSED(error);
    memcpy(dst, host, bytes);
    return HYBRID_OK;
}
static hybrid_result hyb_host_flush(hyb_device *device, hybrid_error *error)
{
    HYB_UNUSED(device);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static bool hyb_host_attends(hyb_device *device, const hyb_limits *limits)
{
    HYB_UNUSED(device);
    HYB_UNUSED(limits);
    return true;
}
/* They are those of F32, with operands that are rounded when they are packed. */
static bool hyb_host_gains(hyb_device *device, hybrid_type operands)
{
    HYB_UNUSED(device);
    HYB_UNUSED(operands);
    return false;
}
static bool hyb_host_show(hyb_device *device, hyb_limits *limits, const hyb_tensor *w)
{
    return hyb_cpu_limits_matrix(device->rt, limits, w);
}
static uint64_t hyb_host_backend_cost(hyb_device *device, const hyb_limits *limits)
{
    return sizeof(hyb_cpu) + hyb_host_cost(device, hyb_cpu_scratch_bytes(device->rt, limits));
}
static hybrid_result hyb_host_backend_create(hyb_device *device, const hyb_limits *limits, hyb_backend **be,
                                             hybrid_error *error)
{
    return hyb_cpu_backend_create(device->rt, limits, be, error);
}

static void hyb_host_device(hyb_device *device, hybrid_runtime *rt)
{
    static const hyb_device_ops ops = { true,
                                        hyb_host_alloc,
                                        hyb_host_free,
                                        hyb_host_cost,
                                        hyb_host_alloc_host,
                                        hyb_host_free_host,
                                        hyb_host_fits,
                                        hyb_host_write,
                                        hyb_host_flush,
                                        hyb_host_attends,
                                        hyb_host_gains,
                                        hyb_host_show,
                                        hyb_host_backend_cost,
                                        hyb_host_backend_create };
    device->ops = &ops;
    device->rt = rt;
}
#endif
