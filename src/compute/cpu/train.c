/* compute/cpu/train: what only training asks of the CPU back end, over the kernels of one instruction set, split over
 * the lanes by elements of the outputs, so that no gradient depends on the number of lanes. */
#ifndef HYB_COMPUTE_CPU_TRAIN_C
#define HYB_COMPUTE_CPU_TRAIN_C
#include "experts.c"
#include "job.c"

#ifdef HYBRID_NO_TRAIN
static size_t hyb_cpu_train_bytes(const hyb_limits *limits)
{
    HYB_UNUSED(limits);
    return 0;
}
static bool hyb_cpu_matmul_in_chunks(hyb_backend *be, const hyb_op_matmul *op)
{
    HYB_UNUSED(be);
    HYB_UNUSED(op);
    return false;
}
#else

/* ---- embeddings: rows in their order, so columns are split ------------------------------------------------------- */

enum { HYB_EMBED_BACK_COLUMNS = 64 };

static void hyb_cpu_embed_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_embed_back *op = (const hyb_op_embed_back *)job->op;
    const hyb_batch *batch = job->cpu->base.batch;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    const int n_rows = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n;
    const int64_t at = (int64_t)chunk * HYB_EMBED_BACK_COLUMNS;
    const int64_t n = HYB_MIN(op->n_embd - at, (int64_t)HYB_EMBED_BACK_COLUMNS);
    int row;
    HYB_UNUSED(lane);
    for (row = 0; row < n_rows; row++) {
        float *to = op->dtable + index[row] * op->n_embd + at;
        job->cpu->kernels->add_scaled(to, to, op->dy + row * op->n_embd + at, op->scale, n);
    }
}
static void hyb_cpu_embed_back(hyb_backend *be, const hyb_op_embed_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, (int)((op->n_embd + HYB_EMBED_BACK_COLUMNS - 1) / HYB_EMBED_BACK_COLUMNS),
                 hyb_cpu_embed_back_chunk, &job);
}

/* ---- norms: groups, then columns over all of them ---------------------------------------------------------------- */

enum { HYB_NORM_BACK_COLUMNS = 32 };

static void hyb_cpu_norm_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_norm_back *op = (const hyb_op_norm_back *)job->op;
    int64_t at, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < end; at++) {
        const int64_t row = at / op->n_group, group = at % op->n_group * op->n;
        const float *add = op->add ? op->add + row * op->dx_stride + group : NULL;
        job->cpu->kernels->norm_back(op, op->x + row * op->x_stride + group, op->dy + row * op->dy_stride + group, add,
                                     op->dx + row * op->dx_stride + group, op->stats + 2 * at);
    }
}

static void hyb_cpu_norm_back_w_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_norm_back *op = (const hyb_op_norm_back *)job->op;
    const int64_t at = (int64_t)chunk * HYB_NORM_BACK_COLUMNS;
    const int64_t n = HYB_MIN(op->n - at, (int64_t)HYB_NORM_BACK_COLUMNS);
    int64_t g;
    HYB_UNUSED(lane);
    if (op->dw) job->cpu->kernels->norm_back_w(op, at, n);
    for (g = 0; op->db && g < op->n_group; g++)
        job->cpu->kernels->sum_rows(op->dy + g * op->n + at, op->dy_stride, op->n_rows, op->db + at, n);
}
static void hyb_cpu_norm_back(hyb_backend *be, const hyb_op_norm_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_cpu_rows(be, op, op->n_rows * op->n_group, op->n, hyb_cpu_norm_back_chunk);
    if (op->dw || op->db)
        hyb_parallel(be->rt, (int)((op->n + HYB_NORM_BACK_COLUMNS - 1) / HYB_NORM_BACK_COLUMNS),
                     hyb_cpu_norm_back_w_chunk, &job);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* A product in blocks of at most HYB_PRODUCT_M rows and some columns; the outputs of one op lie one after the other in
 * the chunks of one section. */
typedef struct hyb_cpu_product {
    hyb_product_op p;
    const hyb_matmul_out *out; /* of a forward pass: what is added; or NULL */
    int64_t rows, columns;     /* of a block */
    int first_chunk;
} hyb_cpu_product;
typedef struct hyb_cpu_product_job {
    hyb_cpu *cpu;
    hyb_cpu_product part[4];
    int n;
} hyb_cpu_product_job;

static int64_t hyb_cpu_product_blocks(const hyb_cpu_product *part)
{
    return (part->p.m + part->rows - 1) / part->rows * ((part->p.n + part->columns - 1) / part->columns);
}

/* Large blocks pack less, small ones share out better: they are cut until every lane has some, columns first, since it
 * costs more to pack b. Blocks of rows are about equal. */
static void hyb_cpu_product_cut(hyb_cpu_product *part, int lanes)
{
    const int64_t columns = hyb_product_width(&part->p);
    int64_t most = HYB_PRODUCT_M;
    part->columns = HYB_PRODUCT_BLOCK;
    for (;;) {
        const int64_t blocks = HYB_MAX((part->p.m + most - 1) / most, 1);
        part->rows = (int64_t)hyb_align((size_t)((part->p.m + blocks - 1) / blocks), 12);
        if (lanes == 1 || hyb_cpu_product_blocks(part) >= 3 * lanes || most < 96) return;
        if (part->columns > columns)
            part->columns /= 2;
        else
            most /= 2;
    }
}

static void hyb_cpu_product_block(const hyb_cpu *cpu, const hyb_cpu_product *part, int64_t m0, int64_t m1, int64_t n0,
                                  int64_t n1, float *scratch)
{
    const hyb_matmul_out *o = part->out;
    int64_t m;
    for (m = m0; o && o->add && o->add != o->y && m < m1; m++)
        memcpy(o->y + m * o->y_stride + n0, o->add + m * o->add_stride + n0, sizeof(float) * (size_t)(n1 - n0));
    cpu->kernels->product(&part->p, m0, m1, n0, n1, scratch);
    for (m = m0; o && o->bias && m < m1; m++) {
        float *y = o->y + m * o->y_stride + n0;
        cpu->kernels->add(y, y, o->bias + n0, n1 - n0);
    }
}

static void hyb_cpu_product_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_product_job *job = (const hyb_cpu_product_job *)arg;
    const hyb_cpu *cpu = job->cpu;
    const hyb_cpu_product *part = &job->part[job->n - 1];
    int64_t across, m, n;
    while (part->first_chunk > chunk) part--;
    across = (part->p.n + part->columns - 1) / part->columns;
    m = (chunk - part->first_chunk) / across * part->rows;
    n = (chunk - part->first_chunk) % across * part->columns;
    hyb_cpu_product_block(cpu, part, m, HYB_MIN(m + part->rows, part->p.m), n, HYB_MIN(n + part->columns, part->p.n),
                          (float *)(void *)(cpu->scratch + (size_t)lane * cpu->train_bytes));
}

/* y = ((add + the sum over k in chunks)) + bias. False: not done. */
static bool hyb_cpu_matmul_in_chunks(hyb_backend *be, const hyb_op_matmul *op)
{
    hyb_cpu_product_job job;
    int i, chunks = 0;
    job.cpu = hyb_cpu_of(be);
    if (!job.cpu->train_bytes) return false;
    for (i = 0; i < op->n_out; i++)
        if (op->out[i].w->type != HYBRID_TYPE_F32) return false;
    for (i = 0; i < op->n_out; i++) {
        const hyb_matmul_out *o = &op->out[i];
        hyb_cpu_product *part = &job.part[i];
        memset(part, 0, sizeof *part);
        part->out = o;
        part->p.m = op->n;
        part->p.n = o->w->ne[1];
        part->p.p = o->w->ne[0];
        part->p.a = op->x;
        part->p.a_m = op->x_stride;
        part->p.a_p = 1;
        part->p.b = (const float *)o->w->data;
        part->p.b_p = 1;
        part->p.b_n = (int64_t)(o->w->nb[1] / sizeof(float));
        part->p.c = o->y;
        part->p.c_m = o->y_stride;
        part->p.add = o->add != NULL;
        part->p.round = op->rounding.type;
        part->first_chunk = chunks;
        hyb_cpu_product_cut(part, hyb_lanes(be->rt));
        chunks += (int)hyb_cpu_product_blocks(part);
    }
    job.n = op->n_out;
    if (op->n > 0) hyb_parallel(be->rt, chunks, hyb_cpu_product_chunk, &job);
    return true;
}

static void hyb_cpu_matmul_back_x(hyb_backend *be, const hyb_op_matmul_back_x *op)
{
    hyb_cpu_product_job job;
    int i;
    job.cpu = hyb_cpu_of(be);
    job.n = 1;
    for (i = 0; i < op->n_out; i++) { /* one after the other: they add to the same dx */
        const hyb_matmul_dy *o = &op->out[i];
        hyb_product_op *p = &job.part[0].p;
        memset(&job.part[0], 0, sizeof job.part[0]);
        p->m = op->n;
        p->n = o->w->ne[0];
        p->p = o->w->ne[1];
        p->a = o->dy;
        p->a_m = o->dy_stride;
        p->a_p = 1;
        p->w = o->w;
        if (o->w->type == HYBRID_TYPE_F32) p->b = (const float *)o->w->data;
        p->b_p = (int64_t)(o->w->nb[1] / sizeof(float));
        p->b_n = 1;
        p->c = op->dx;
        p->c_m = op->dx_stride;
        p->add = i > 0;
        if (p->b) p->round = op->rounding.type;
        hyb_cpu_product_cut(&job.part[0], hyb_lanes(be->rt));
        hyb_parallel(be->rt, (int)hyb_cpu_product_blocks(&job.part[0]), hyb_cpu_product_chunk, &job);
    }
}

/* Columns of the biases' gradients. */
enum { HYB_BIAS_BACK_COLUMNS = 256 };
static void hyb_cpu_bias_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_matmul_back_w *op = (const hyb_op_matmul_back_w *)job->op;
    const int64_t at = (int64_t)chunk * HYB_BIAS_BACK_COLUMNS;
    int i;
    HYB_UNUSED(lane);
    for (i = 0; i < op->n_out; i++) {
        const hyb_matmul_dw *o = &op->out[i];
        if (o->dbias && at < o->n)
            job->cpu->kernels->sum_rows(o->dy + at, o->dy_stride, op->n, o->dbias + at,
                                        HYB_MIN(o->n - at, (int64_t)HYB_BIAS_BACK_COLUMNS));
    }
}

static void hyb_cpu_matmul_back_w(hyb_backend *be, const hyb_op_matmul_back_w *op)
{
    hyb_cpu_product_job job;
    hyb_cpu_job bias;
    int64_t widest = 0;
    int i, chunks = 0;
    job.cpu = hyb_cpu_of(be);
    job.n = 0;
    for (i = 0; i < op->n_out; i++) {
        const hyb_matmul_dw *o = &op->out[i];
        hyb_cpu_product *part = &job.part[job.n];
        if (o->dbias) widest = HYB_MAX(widest, o->n);
        if (!o->dw) continue;
        memset(part, 0, sizeof *part);
        part->p.m = o->n;
        part->p.n = op->k;
        part->p.p = op->n;
        part->p.a = o->dy;
        part->p.a_m = 1;
        part->p.a_p = o->dy_stride;
        part->p.b = op->x;
        part->p.b_p = op->x_stride;
        part->p.b_n = 1;
        part->p.c = o->dw;
        part->p.c_m = op->k;
        part->p.add = true;
        part->p.round = op->rounding.type;
        part->first_chunk = chunks;
        hyb_cpu_product_cut(part, hyb_lanes(be->rt));
        chunks += (int)hyb_cpu_product_blocks(part);
        job.n++;
    }
    if (chunks) hyb_parallel(be->rt, chunks, hyb_cpu_product_chunk, &job);
    memset(&bias, 0, sizeof bias);
    bias.cpu = job.cpu;
    bias.op = op;
    if (widest)
        hyb_parallel(be->rt, (int)((widest + HYB_BIAS_BACK_COLUMNS - 1) / HYB_BIAS_BACK_COLUMNS),
                     hyb_cpu_bias_back_chunk, &bias);
}

/* ---- attention ---------------------------------------------------------------------------------------------------
 *
 * A chunk is one kv head of one run: its keys and values as floats, and transposed; then block by block of rows, and
 * query head by query head, all scores of a block (a product), the way back through their softmax, and the four other
 * products. What a chunk adds up, it adds in that order. */
typedef struct hyb_attention_back_scratch {
    float *k, *k_t, *v_t;    /* (T, dim_k), (dim_k, T), (dim_v, T), T = keys of the run */
    float *s, *ds, *product; /* (HYB_ATTENTION_BACK_ROWS, T); HYB_PRODUCT_SCRATCH */
    int64_t stride;          /* of all that has T columns */
} hyb_attention_back_scratch;

/* Lays it out in memory (NULL: only counts) and returns its floats. */
static size_t hyb_attention_back_layout(hyb_attention_back_scratch *s, float *memory, int head_dim_k, int head_dim_v,
                                        int n)
{
    /* rows of a power of two would fall on the same lines of a cache */
    const size_t t = hyb_align((size_t)n, 16) + 16, rows = HYB_ATTENTION_BACK_ROWS;
    size_t at = 0;
    #define HYB_PLACE(name, count) \
        s->name = memory ? memory + at : NULL; \
        at += (count)
    HYB_PLACE(k, t * (size_t)head_dim_k);
    HYB_PLACE(k_t, t * (size_t)head_dim_k);
    HYB_PLACE(v_t, t * (size_t)head_dim_v);
    HYB_PLACE(s, rows * t);
    HYB_PLACE(ds, rows * t);
    HYB_PLACE(product, HYB_PRODUCT_SCRATCH);
    #undef HYB_PLACE
    s->stride = (int64_t)t;
    return at;
}

/* Bytes of scratch of one lane. */
static size_t hyb_cpu_train_bytes(const hyb_limits *limits)
{
    hyb_attention_back_scratch s;
    size_t floats;
    if (!limits->n_train) return 0;
    floats = hyb_attention_back_layout(&s, NULL, limits->head_dim_k, limits->head_dim_v, limits->n_train);
    floats = HYB_MAX(floats, hyb_wkv7_back_floats(limits->wkv_size, limits->n_train));
    return hyb_align(sizeof(float) * floats, 64);
}

/* The keys and values of a run's head. */
static void hyb_attention_back_load(const hyb_op_attention_back *op, const hyb_run *run, int head,
                                    const hyb_attention_back_scratch *s)
{
    const hyb_kv_view *kv = op->kv;
    int j, i;
    for (j = 0; j < run->n_rows; j++) {
        const char *k = hyb_k_row(kv, run->pages[j / HYB_PAGE], head, j % HYB_PAGE);
        const char *v = hyb_v_row(kv, run->pages[j / HYB_PAGE], head, j % HYB_PAGE);
        for (i = 0; i < kv->head_dim_k; i++) {
            const float x = hyb_kv_value_generic(kv->type, k, i);
            s->k[(int64_t)j * kv->head_dim_k + i] = s->k_t[i * s->stride + j] = x;
        }
        for (i = 0; i < kv->head_dim_v; i++) s->v_t[i * s->stride + j] = hyb_kv_value_generic(kv->type, v, i);
    }
}

/* c (m, n) = or += a (m, p) . b (p, n), by this lane alone. */
static void hyb_attention_back_product(const hyb_cpu_kernels *kernels, float *scratch, int64_t m, int64_t n, int64_t p,
                                       const float *a, int64_t a_m, int64_t a_p, const float *b, int64_t b_p, float *c,
                                       int64_t c_m, bool add)
{
    hyb_product_op q;
    int64_t at;
    q.m = m;
    q.n = n;
    q.p = p;
    q.a = a;
    q.a_m = a_m;
    q.a_p = a_p;
    q.b = b;
    q.b_p = b_p;
    q.b_n = 1;
    q.w = NULL;
    q.c = c;
    q.c_m = c_m;
    q.add = add;
    q.a_near = true;
    q.round = HYBRID_TYPE_F32;
    for (at = 0; at < m; at += HYB_PRODUCT_M) kernels->product(&q, at, HYB_MIN(at + HYB_PRODUCT_M, m), 0, n, scratch);
}

/* Sum of x * y in 32 partial sums, halved. */
static float hyb_attention_back_delta(const float *x, const float *y, int n)
{
    float p[32] = { 0 };
    int i;
    for (i = 0; i < n; i++) p[i % 32] = hyb_fmaf(x[i], y[i], p[i % 32]);
    return hyb_halve(p, 32);
}

/* Rows row0 .. row0 + n of a run, one query head of kv head `head_kv`. They see keys from .. to. */
static void hyb_attention_back_block(const hyb_cpu_kernels *kernels, const hyb_op_attention_back *op,
                                     const hyb_run *run, int head, int head_kv, int row0, int n,
                                     const hyb_attention_back_scratch *s)
{
    const hyb_kv_view *kv = op->kv;
    const int dim_k = kv->head_dim_k, dim_v = kv->head_dim_v;
    const int64_t row = run->first_row + row0, t = s->stride;
    const float *q = op->q + row * op->q_stride + (int64_t)head * dim_k;
    const float *out = op->out + row * op->out_stride + (int64_t)head * dim_v;
    const float *dout = op->dout + row * op->out_stride + (int64_t)head * dim_v;
    const int from = op->window > 0 && row0 >= op->window ? row0 - op->window + 1 : 0, keys = row0 + n - from;
    float *dk = op->dk + (run->first_row + from) * op->stride + (int64_t)head_kv * dim_k;
    float *dv = op->dv + (run->first_row + from) * op->stride + (int64_t)head_kv * dim_v;
    int r;
    hyb_attention_back_product(kernels, s->product, n, keys, dim_k, q, op->q_stride, 1, s->k_t + from, t, s->s, t,
                               false);
    hyb_attention_back_product(kernels, s->product, n, keys, dim_v, dout, op->out_stride, 1, s->v_t + from, t, s->ds, t,
                               false);
    for (r = 0; r < n; r++) {
        const int first = op->window > 0 && row0 + r >= op->window ? row0 + r - op->window + 1 : 0;
        const float delta = hyb_attention_back_delta(dout + r * op->out_stride, out + r * op->out_stride, dim_v);
        kernels->softmax_back(op, s->s + r * t, s->ds + r * t, delta, first - from, row0 + r + 1 - from, keys,
                              op->sinks ? op->sinks + head : NULL,
                              op->sinks ? op->sink_rows + (row + r) * op->n_head + head : NULL);
    }
    hyb_attention_back_product(kernels, s->product, n, dim_k, keys, s->ds, t, 1, s->k + (int64_t)from * dim_k, dim_k,
                               op->dq + row * op->stride + (int64_t)head * dim_k, op->stride, false);
    hyb_attention_back_product(kernels, s->product, keys, dim_k, n, s->ds, 1, t, q, op->q_stride, dk, op->stride, true);
    hyb_attention_back_product(kernels, s->product, keys, dim_v, n, s->s, 1, t, dout, op->out_stride, dv, op->stride,
                               true);
}

static void hyb_cpu_attention_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_attention_back *op = (const hyb_op_attention_back *)job->op;
    const hyb_cpu *cpu = job->cpu;
    const hyb_kv_view *kv = op->kv;
    const hyb_run *run = &cpu->base.batch->runs[chunk / kv->n_head_kv];
    const int head_kv = chunk % kv->n_head_kv, group = op->n_head / kv->n_head_kv;
    hyb_attention_back_scratch s;
    int row, h;
    hyb_attention_back_layout(&s, (float *)(void *)(cpu->scratch + (size_t)lane * cpu->train_bytes), kv->head_dim_k,
                              kv->head_dim_v, run->n_rows);
    hyb_attention_back_load(op, run, head_kv, &s);
    for (row = 0; row < run->n_rows; row++) {
        const int64_t at = (run->first_row + row) * op->stride;
        memset(op->dk + at + (int64_t)head_kv * kv->head_dim_k, 0, sizeof(float) * (size_t)kv->head_dim_k);
        memset(op->dv + at + (int64_t)head_kv * kv->head_dim_v, 0, sizeof(float) * (size_t)kv->head_dim_v);
    }
    for (row = 0; row < run->n_rows; row += HYB_ATTENTION_BACK_ROWS)
        for (h = head_kv * group; h < (head_kv + 1) * group; h++)
            hyb_attention_back_block(cpu->kernels, op, run, h, head_kv, row,
                                     HYB_MIN(run->n_rows - row, (int)HYB_ATTENTION_BACK_ROWS), &s);
}
static void hyb_cpu_attention_back(hyb_backend *be, const hyb_op_attention_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, be->batch->n_runs * op->kv->n_head_kv, hyb_cpu_attention_back_chunk, &job);
    if (op->sinks) job.cpu->kernels->sum_rows(op->sink_rows, op->n_head, be->batch->n, op->dsinks, op->n_head);
}

/* ---- recurrence: rows in their order, so columns are split ------------------------------------------------------- */

enum { HYB_RECURRENT_BACK_COLUMNS = 64 };

static void hyb_cpu_shortconv_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_shortconv_back *op = (const hyb_op_shortconv_back *)job->op;
    const int64_t at = (int64_t)chunk * HYB_RECURRENT_BACK_COLUMNS;
    HYB_UNUSED(lane);
    job->cpu->kernels->shortconv_back(op, job->cpu->base.batch, at,
                                      HYB_MIN(op->n_embd - at, (int64_t)HYB_RECURRENT_BACK_COLUMNS));
}
static void hyb_cpu_shortconv_back(hyb_backend *be, const hyb_op_shortconv_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, (int)((op->n_embd + HYB_RECURRENT_BACK_COLUMNS - 1) / HYB_RECURRENT_BACK_COLUMNS),
                 hyb_cpu_shortconv_back_chunk, &job);
}

static void hyb_cpu_shift_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_shift_back *op = (const hyb_op_shift_back *)job->op;
    const int64_t at = (int64_t)chunk * HYB_RECURRENT_BACK_COLUMNS;
    HYB_UNUSED(lane);
    job->cpu->kernels->shift_back(op, job->cpu->base.batch, at,
                                  HYB_MIN(op->n_embd - at, (int64_t)HYB_RECURRENT_BACK_COLUMNS));
}
static void hyb_cpu_shift_back(hyb_backend *be, const hyb_op_shift_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, (int)((op->n_embd + HYB_RECURRENT_BACK_COLUMNS - 1) / HYB_RECURRENT_BACK_COLUMNS),
                 hyb_cpu_shift_back_chunk, &job);
}

/* A head of all runs is a chunk: its weights' gradients are sums over them. */
static void hyb_cpu_wkv7_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_cpu *cpu = job->cpu;
    cpu->kernels->wkv7_back((const hyb_op_wkv7_back *)job->op, cpu->base.batch, chunk,
                            (float *)(void *)(cpu->scratch + (size_t)lane * cpu->train_bytes));
}
static void hyb_cpu_wkv7_back(hyb_backend *be, const hyb_op_wkv7_back *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, op->of.n_head, hyb_cpu_wkv7_back_chunk, &job);
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

static void hyb_cpu_glu_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_glu_back *op = (const hyb_op_glu_back *)job->op;
    int64_t pieces = (op->n + HYB_CPU_SPLIT - 1) / HYB_CPU_SPLIT, at;
    HYB_UNUSED(lane);
    for (at = hyb_cpu_row_begin(job, chunk); at < hyb_cpu_row_end(job, chunk); at++) {
        const int64_t i = at % pieces * HYB_CPU_SPLIT, from = at / pieces * op->stride + i;
        job->cpu->kernels->glu_back(op->act, op->dout + at / pieces * op->dout_stride + i, op->gate + from,
                                    op->up ? op->up + from : NULL, op->dgate + from, op->up ? op->dup + from : NULL,
                                    HYB_MIN(op->n - i, (int64_t)HYB_CPU_SPLIT));
    }
}
static void hyb_cpu_glu_back(hyb_backend *be, const hyb_op_glu_back *op)
{
    int64_t pieces = (op->n + HYB_CPU_SPLIT - 1) / HYB_CPU_SPLIT;
    hyb_cpu_rows(be, op, op->n_rows * pieces, HYB_MIN(op->n, (int64_t)HYB_CPU_SPLIT), hyb_cpu_glu_back_chunk);
}

/* ---- loss and optimizer ------------------------------------------------------------------------------------------ */

static void hyb_cpu_cross_entropy_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++)
        job->cpu->kernels->cross_entropy((const hyb_op_cross_entropy *)job->op, row);
}
static void hyb_cpu_cross_entropy(hyb_backend *be, const hyb_op_cross_entropy *op)
{
    hyb_cpu_rows(be, op, op->n_rows, op->n, hyb_cpu_cross_entropy_chunk);
}

/* Chunks of HYB_SQUARES values are summed in float by the lanes, in rounds of as many as there is room for; their sums
 * in double, in their order. */
enum { HYB_SQUARES = 4096, HYB_SQUARES_ROUND = 256 };
typedef struct hyb_cpu_squares_job {
    const hyb_cpu *cpu;
    const float *x;
    int64_t n;
    float sums[HYB_SQUARES_ROUND];
} hyb_cpu_squares_job;
static void hyb_cpu_squares_chunk(void *arg, int chunk, int lane)
{
    hyb_cpu_squares_job *job = (hyb_cpu_squares_job *)arg;
    const int64_t at = (int64_t)chunk * HYB_SQUARES;
    HYB_UNUSED(lane);
    job->cpu->kernels->squares(job->x + at, HYB_MIN(job->n - at, (int64_t)HYB_SQUARES), &job->sums[chunk]);
}
static void hyb_cpu_squares(hyb_backend *be, const hyb_op_squares *op)
{
    hyb_cpu_squares_job job;
    double sum = 0;
    int64_t at;
    int i, n;
    job.cpu = hyb_cpu_of(be);
    for (at = 0; at < op->n; at += job.n) {
        job.x = op->x + at;
        job.n = HYB_MIN(op->n - at, (int64_t)HYB_SQUARES * HYB_SQUARES_ROUND);
        n = (int)((job.n + HYB_SQUARES - 1) / HYB_SQUARES);
        hyb_parallel(be->rt, n, hyb_cpu_squares_chunk, &job);
        for (i = 0; i < n; i++) sum += (double)job.sums[i];
    }
    *op->sum = sum;
}

/* So many weights at a time, which are still in a cache when they are displaced. */
enum { HYB_ADAMW_PIECE = 1024 };
static void hyb_cpu_adamw_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_adamw *op = (const hyb_op_adamw *)job->op;
    int64_t at = hyb_cpu_row_begin(job, chunk);
    const int64_t end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (; at < end; at += HYB_ADAMW_PIECE) {
        const int64_t n = HYB_MIN(end - at, (int64_t)HYB_ADAMW_PIECE);
        job->cpu->kernels->adamw(op, at, n);
        if (op->then) job->cpu->kernels->displace(op->then, at, n);
    }
}
static void hyb_cpu_adamw(hyb_backend *be, const hyb_op_adamw *op)
{
    hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_adamw_chunk);
}

static void hyb_cpu_sgd_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->sgd((const hyb_op_sgd *)job->op, at, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_sgd(hyb_backend *be, const hyb_op_sgd *op) { hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_sgd_chunk); }

static void hyb_cpu_lerp_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->lerp((const hyb_op_lerp *)job->op, at, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_lerp(hyb_backend *be, const hyb_op_lerp *op) { hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_lerp_chunk); }

/* Plain: on the host products round what they pack, so this is never asked for. */
static void hyb_cpu_round(hyb_backend *be, const hyb_op_round *op)
{
    int64_t i;
    HYB_UNUSED(be);
    for (i = 0; i < op->n; i++)
        op->out[i] = op->type == HYBRID_TYPE_BF16 ? hyb_f32_to_bf16(op->x[i]) : hyb_f32_to_f16(op->x[i]);
}

static void hyb_cpu_displace_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->displace((const hyb_op_displace *)job->op, at, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_displace(hyb_backend *be, const hyb_op_displace *op)
{
    hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_displace_chunk);
}

/* As squares: HYB_GRAM values are summed in float by the lanes, those sums in double, in their order. */
enum { HYB_GRAM = 4096, HYB_GRAM_ROUND = 64 };
typedef struct hyb_cpu_gram_job {
    const hyb_cpu *cpu;
    const hyb_op_gram *op;
    int64_t at; /* of the round */
    float sums[HYB_GRAM_ROUND][HYB_GRAM_SUMS];
} hyb_cpu_gram_job;
static void hyb_cpu_gram_chunk(void *arg, int chunk, int lane)
{
    hyb_cpu_gram_job *job = (hyb_cpu_gram_job *)arg;
    const int64_t at = job->at + (int64_t)chunk * HYB_GRAM;
    HYB_UNUSED(lane);
    job->cpu->kernels->gram(job->op, at, HYB_MIN(job->op->n - at, (int64_t)HYB_GRAM), job->sums[chunk]);
}
static void hyb_cpu_gram(hyb_backend *be, const hyb_op_gram *op)
{
    hyb_cpu_gram_job job;
    int i, j, n;
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    for (j = 0; j < HYB_GRAM_SUMS; j++) op->sums[j] = 0;
    for (job.at = 0; job.at < op->n; job.at += (int64_t)HYB_GRAM * HYB_GRAM_ROUND) {
        n = (int)((HYB_MIN(op->n - job.at, (int64_t)HYB_GRAM * HYB_GRAM_ROUND) + HYB_GRAM - 1) / HYB_GRAM);
        hyb_parallel(be->rt, n, hyb_cpu_gram_chunk, &job);
        for (i = 0; i < n; i++)
            for (j = 0; j < HYB_GRAM_SUMS; j++) op->sums[j] += (double)job.sums[i][j];
    }
}
#endif
#endif
