/* compute/cpu/experts_back: the way back through a mixture of experts on the CPU: through the weights of the choice,
 * and through products with the matrices of the chosen experts.
 *
 * The rows of the choices are gathered in the order of their experts; then each expert has two plain products, in the
 * order of gradients (NUMERICS.md), of rows that lie side by side:
 *
 *     choices of   | expert 0 | expert 1 | expert 3 | ...           order[place] = choice, place[choice] = place
 *     x, dy, dx    | rows ... | rows ... | rows ... |               gathered
 *
 * The choice itself is constant: it has no gradient. */
#ifndef HYB_COMPUTE_CPU_EXPERTS_BACK_C
#define HYB_COMPUTE_CPU_EXPERTS_BACK_C
#include "train.c"

#ifndef HYBRID_NO_TRAIN

/* ---- the choice -------------------------------------------------------------------------------------------------- */

/* Scalar, in one order, as hyb_route_row. */
static void hyb_route_back_row(const hyb_op_route_back *op, int64_t row)
{
    const float *x = op->logits + row * op->n_expert, *dw = op->dweights + row * op->n_used;
    const int32_t *ids = op->ids + row * op->n_used;
    float *d = op->dlogits + row * op->n_expert, most = x[ids[0]], p[32] = { 0 }, sum = 0, all = 0;
    int i;
    for (i = 0; i < op->n_expert; i++) d[i] = 0;
    if (op->kind == HYB_ROUTE_SIGMOID) {
        for (i = 0; i < op->n_used; i++) d[ids[i]] = dw[i] * op->scale * hyb_sigmoid_back_scalar(x[ids[i]]);
        return;
    }
    for (i = 0; i < op->n_expert && !op->norm; i++) p[i % 32] = p[i % 32] + hyb_exp_scalar(x[i] - most);
    for (i = 0; i < op->n_used && op->norm; i++) sum = sum + hyb_exp_scalar(x[ids[i]] - most);
    if (!op->norm) sum = hyb_halve(p, 32);
    for (i = 0; i < op->n_used; i++) {
        d[ids[i]] = dw[i] * op->scale;
        all = hyb_fmaf(d[ids[i]], hyb_exp_scalar(x[ids[i]] - most) / sum, all);
    }
    for (i = 0; i < op->n_used && op->norm; i++)
        d[ids[i]] = hyb_exp_scalar(x[ids[i]] - most) / sum * (d[ids[i]] - all);
    for (i = 0; i < op->n_expert && !op->norm; i++) d[i] = hyb_exp_scalar(x[i] - most) / sum * (d[i] - all);
}
static void hyb_cpu_route_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++)
        hyb_route_back_row((const hyb_op_route_back *)job->op, row);
}
static void hyb_cpu_route_back(hyb_backend *be, const hyb_op_route_back *op)
{
    hyb_cpu_rows(be, op, op->n, (int64_t)op->n_expert * 32, hyb_cpu_route_back_chunk);
}

static void hyb_cpu_weigh_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_weigh *op = (const hyb_op_weigh *)job->op;
    const hyb_cpu_kernels *kernels = job->cpu->kernels;
    int64_t row, end = hyb_cpu_row_end(job, chunk);
    HYB_UNUSED(lane);
    for (row = hyb_cpu_row_begin(job, chunk); row < end; row++) {
        const float *x = op->x + row * op->x_stride;
        if (op->y) kernels->row_dot(x, op->y + row * op->y_stride, op->n, &op->dots[row]);
        kernels->scale(op->out + row * op->out_stride, x, op->weights[row], op->n);
    }
}
static void hyb_cpu_weigh(hyb_backend *be, const hyb_op_weigh *op)
{
    hyb_cpu_rows(be, op, op->n_rows, op->n, hyb_cpu_weigh_chunk);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

enum { HYB_EXPERTS_BACK_ROWS = 96 /* of a product that are a chunk */ };

typedef struct hyb_experts_back_job {
    hyb_cpu *cpu;
    const hyb_op_experts_back *op;
    int64_t k;
    int n_choices, n_expert;
    int32_t *first; /* (n_expert + 1) where the rows of an expert begin */
    int32_t *order, *place;
    float *x, *dx, *dy[2]; /* gathered */
} hyb_experts_back_job;

static void hyb_experts_back_layout(hyb_experts_back_job *job, hyb_cpu *cpu, const hyb_op_experts_back *op)
{
    float *work = op->work;
    int i;
    job->cpu = cpu;
    job->op = op;
    job->k = op->out[0].w->ne[0];
    job->n_expert = (int)op->out[0].w->ne[2];
    job->n_choices = op->n * op->n_used;
    job->order = (int32_t *)(void *)work;
    job->place = job->order + job->n_choices;
    job->first = job->place + job->n_choices;
    work += 2 * (int64_t)job->n_choices + job->n_expert + 1;
    job->x = work;
    job->dx = job->x + job->n_choices * job->k;
    work = job->dx + job->n_choices * job->k;
    for (i = 0; i < op->n_out; work += job->n_choices * op->out[i].w->ne[1], i++) job->dy[i] = work;
}

/* Puts the choices in the order of their experts; those of one stay in their own. */
static void hyb_experts_back_sort(const hyb_experts_back_job *job)
{
    const int32_t *ids = job->op->ids;
    int32_t *first = job->first;
    int c, e;
    memset(first, 0, sizeof *first * (size_t)(job->n_expert + 1));
    for (c = 0; c < job->n_choices; c++) first[ids[c] + 1]++;
    for (e = 0; e < job->n_expert; e++) first[e + 1] += first[e];
    for (c = 0; c < job->n_choices; c++) {
        job->place[c] = first[ids[c]]++;
        job->order[job->place[c]] = c;
    }
    for (e = job->n_expert; e > 0; e--) first[e] = first[e - 1];
    first[0] = 0;
}

/* A chunk gathers some places' rows. */
enum { HYB_EXPERTS_BACK_GATHER = 8 };
static void hyb_experts_back_gather_chunk(void *arg, int chunk, int lane)
{
    const hyb_experts_back_job *job = (const hyb_experts_back_job *)arg;
    const hyb_op_experts_back *op = job->op;
    const int end = HYB_MIN((chunk + 1) * HYB_EXPERTS_BACK_GATHER, job->n_choices);
    int place, i;
    HYB_UNUSED(lane);
    for (place = chunk * HYB_EXPERTS_BACK_GATHER; place < end; place++) {
        const int32_t c = job->order[place];
        const int64_t x_row = op->x_each ? c : c / op->n_used, dy_row = op->dy_each ? c : c / op->n_used;
        memcpy(job->x + place * job->k, op->x + x_row * op->x_stride, sizeof(float) * (size_t)job->k);
        for (i = 0; i < op->n_out; i++) {
            const int64_t out = op->out[i].w->ne[1];
            memcpy(job->dy[i] + place * out, op->out[i].dy + dy_row * op->out[i].dy_stride,
                   sizeof(float) * (size_t)out);
        }
    }
}

/* dx of some rows of an expert, from row `row` of its own on. */
static void hyb_experts_back_x(const hyb_experts_back_job *job, int expert, int64_t row, float *scratch)
{
    const hyb_op_experts_back *op = job->op;
    const int64_t first = job->first[expert], n = job->first[expert + 1] - first;
    int i;
    for (i = 0; i < op->n_out; i++) {
        hyb_tensor w = *op->out[i].w;
        hyb_product_op p;
        w.data = (const char *)w.data + (size_t)expert * w.nb[2];
        memset(&p, 0, sizeof p);
        p.m = n;
        p.n = job->k;
        p.p = w.ne[1];
        p.a = job->dy[i] + first * w.ne[1];
        p.a_m = w.ne[1];
        p.a_p = p.b_n = 1;
        p.w = &w;
        if (w.type == HYBRID_TYPE_F32) p.b = (const float *)w.data;
        p.b_p = (int64_t)(w.nb[1] / sizeof(float));
        p.c = job->dx + first * job->k;
        p.c_m = job->k;
        p.add = i > 0;
        job->cpu->kernels->product(&p, row, HYB_MIN(row + HYB_EXPERTS_BACK_ROWS, n), 0, job->k, scratch);
    }
}

/* dw of some rows of matrix i of an expert, from row `row` on. */
static void hyb_experts_back_w(const hyb_experts_back_job *job, int expert, int i, int64_t row, float *scratch)
{
    const int64_t first = job->first[expert], out = job->op->out[i].w->ne[1];
    hyb_product_op p;
    memset(&p, 0, sizeof p);
    p.m = out;
    p.n = job->k;
    p.p = job->first[expert + 1] - first;
    p.a = job->dy[i] + first * out;
    p.a_m = p.b_n = 1;
    p.a_p = out;
    p.b = job->x + first * job->k;
    p.b_p = p.c_m = job->k;
    p.c = job->op->out[i].dw + expert * out * job->k;
    p.add = true;
    job->cpu->kernels->product(&p, row, HYB_MIN(row + HYB_EXPERTS_BACK_ROWS, out), 0, job->k, scratch);
}

/* Chunks of what is made of n rows. */
static int hyb_experts_back_chunks(int64_t n) { return (int)((n + HYB_EXPERTS_BACK_ROWS - 1) / HYB_EXPERTS_BACK_ROWS); }

/* Does chunk number `chunk`, counted expert by expert: first those of dx, then those of each dw. -1: none; returns how
 * many there are. */
static int hyb_experts_back_count(const hyb_experts_back_job *job, int chunk, float *scratch)
{
    const hyb_op_experts_back *op = job->op;
    int e, i, at = 0;
    for (e = 0; e < job->n_expert; e++) {
        int n = job->first[e + 1] - job->first[e];
        if (!n) continue;
        n = hyb_experts_back_chunks(n);
        if (chunk >= at && chunk < at + n)
            hyb_experts_back_x(job, e, (int64_t)(chunk - at) * HYB_EXPERTS_BACK_ROWS, scratch);
        at += n;
        for (i = 0; i < op->n_out; i++) {
            if (!op->out[i].dw) continue;
            n = hyb_experts_back_chunks(op->out[i].w->ne[1]);
            if (chunk >= at && chunk < at + n)
                hyb_experts_back_w(job, e, i, (int64_t)(chunk - at) * HYB_EXPERTS_BACK_ROWS, scratch);
            at += n;
        }
        if (chunk >= 0 && chunk < at) return at;
    }
    return at;
}
static void hyb_experts_back_chunk(void *arg, int chunk, int lane)
{
    const hyb_experts_back_job *job = (const hyb_experts_back_job *)arg;
    hyb_experts_back_count(job, chunk, (float *)(void *)(job->cpu->scratch + (size_t)lane * job->cpu->train_bytes));
}

/* Some rows of dx from those that were gathered. */
static void hyb_experts_back_sum_chunk(void *arg, int chunk, int lane)
{
    const hyb_experts_back_job *job = (const hyb_experts_back_job *)arg;
    const hyb_op_experts_back *op = job->op;
    const int64_t k = job->k;
    const int end = HYB_MIN((chunk + 1) * HYB_EXPERTS_BACK_GATHER, op->n);
    int row, s;
    HYB_UNUSED(lane);
    for (row = chunk * HYB_EXPERTS_BACK_GATHER; row < end; row++)
        for (s = 0; s < op->n_used; s++) {
            const int64_t c = (int64_t)row * op->n_used + s;
            const float *d = job->dx + job->place[c] * k, *sum = op->add ? op->add + row * k : NULL;
            if (s) sum = op->dx + row * k;
            if (op->dx_each || !sum)
                memcpy(op->dx + (op->dx_each ? c : (int64_t)row) * k, d, sizeof *d * (size_t)k);
            else
                job->cpu->kernels->add(op->dx + row * k, sum, d, k);
        }
}

static void hyb_cpu_experts_back(hyb_backend *be, const hyb_op_experts_back *op)
{
    hyb_experts_back_job job;
    if (op->n < 1) return;
    hyb_experts_back_layout(&job, hyb_cpu_of(be), op);
    hyb_experts_back_sort(&job);
    hyb_parallel(be->rt, (job.n_choices + HYB_EXPERTS_BACK_GATHER - 1) / HYB_EXPERTS_BACK_GATHER,
                 hyb_experts_back_gather_chunk, &job);
    hyb_parallel(be->rt, hyb_experts_back_count(&job, -1, NULL), hyb_experts_back_chunk, &job);
    hyb_parallel(be->rt, (op->n + HYB_EXPERTS_BACK_GATHER - 1) / HYB_EXPERTS_BACK_GATHER, hyb_experts_back_sum_chunk,
                 &job);
}
#endif
#endif
