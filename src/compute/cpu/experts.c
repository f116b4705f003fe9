/* compute/cpu/experts: mixtures of experts on the CPU: the choice of the experts, and products with the matrices of
 * those chosen.
 *
 * The rows are put in the order of their experts, so that a chosen expert's matrix is read once for all of its rows:
 * for few of them by gemv, for many by gemm. All experts and both matrices are chunks of one parallel section. gemv and
 * gemm give the same bits, so a row's result does not depend on how many others chose the same expert. */
#ifndef HYB_COMPUTE_CPU_EXPERTS_C
#define HYB_COMPUTE_CPU_EXPERTS_C
#include "../backend.c"
#include "matmul.c"
#include "pace.c"

/* Scalar, in one order: 32 partial sums over the index % 32, halved, as for every sum over a row. */
static void hyb_route_row(const hyb_op_route *op, int64_t row)
{
    const float *x = op->logits + row * op->n_expert;
    int32_t *ids = op->ids + row * op->n_used;
    float *weights = op->weights + row * op->n_used, p[32] = { 0 }, most, sum, v;
    int i, at, n = 0;
    for (i = 0; i < op->n_expert; i++) {
        v = x[i] == x[i] ? x[i] : -HUGE_VALF;
        if (n == op->n_used && !(v > weights[n - 1])) continue;
        for (at = n < op->n_used ? n++ : n - 1; at > 0 && v > weights[at - 1]; at--) {
            ids[at] = ids[at - 1];
            weights[at] = weights[at - 1];
        }
        ids[at] = i;
        weights[at] = v;
    }
    if (op->kind == HYB_ROUTE_SIGMOID) {
        for (i = 0; i < op->n_used; i++) weights[i] = hyb_times_sigmoid_scalar(1.0f, weights[i], 0.0f) * op->scale;
        return;
    }
    most = weights[0];
    for (i = 0; i < op->n_expert; i++) p[i % 32] = p[i % 32] + (x[i] == x[i] ? hyb_exp_scalar(x[i] - most) : 0.0f);
    sum = hyb_halve(p, 32);
    for (i = 0; i < op->n_used; i++) weights[i] = hyb_exp_scalar(weights[i] - most) / sum;
    if (op->norm) {
        for (sum = 0, i = 0; i < op->n_used; i++) sum = sum + weights[i];
        for (i = 0; i < op->n_used; i++) weights[i] = weights[i] / sum;
    }
    for (i = 0; i < op->n_used; i++) weights[i] = weights[i] * op->scale;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

typedef struct hyb_expert_group { /* an expert that some rows chose */
    int32_t expert, first, n;     /* its rows: order[first .. first + n) */
    int32_t first_chunk[2];       /* of each matrix */
} hyb_expert_group;

/* A choice is one (row, s), numbered row * n_used + s. Memory: group_of (n_expert), order, place, prepared (choices
 * each), groups (as many as experts can be chosen), acts, and scratch of the lanes. */
typedef struct hyb_experts_job {
    const hyb_op_experts *op;
    const hyb_matmul_kernel *kernel[2];
    hyb_dequantize_fn decode[2]; /* as hyb_matmul_part's */
    int64_t k;
    int n_choices, n_groups, n_chunks, chunks_a_turn, lanes_a_group;
    int32_t *group_of;
    int32_t *order; /* the choices, expert by expert */
    int32_t *place; /* the inverse: where in order a choice stands */
    /* gemv: the place whose prepared row the one at this place reads. Rows that several experts read are prepared
     * once */
    int32_t *prepared;
    hyb_expert_group *groups;
    char *acts; /* a prepared row for each place; the rows of a gemm without gaps */
    size_t slot_bytes;
    char *lane_scratch;
    /* the kernel's scratch, then decoded rows, then results of a gemm, whose rows go to many places */
    size_t lane_bytes, decoded_at, tile_at;
} hyb_experts_job;

static bool hyb_experts_alike(const hyb_matmul_kernel *a, const hyb_matmul_kernel *b)
{
    return a->one == b->one && a->many == b->many && a->gemv_up_to == b->gemv_up_to;
}

/* Lays out the job in scratch (NULL: only counts) and returns the bytes that it takes: no fewer for more rows, experts
 * a row, or lanes. All matrices read rows in the same formats. */
static size_t hyb_experts_layout(hyb_experts_job *job, hyb_isa isa, int lanes, char *scratch, const hyb_op_experts *op)
{
    const hyb_tensor *w = op->out[0].w;
    const size_t n_choices = (size_t)op->n * (size_t)op->n_used, n_expert = (size_t)w->ne[2];
    const hyb_matmul_kernel *kernel;
    size_t at = 0, kernel_bytes = 0, decoded_bytes = 0;
    int64_t rows = HYB_MATMUL_ROWS;
    int i;
    memset(job, 0, sizeof *job);
    job->op = op;
    job->k = w->ne[0];
    job->n_choices = (int)n_choices;
#define HYB_PLACE(field, type, bytes) \
    (job->field = scratch ? (type *)(void *)(scratch + at) : NULL, at += hyb_align(bytes, 64))
    HYB_PLACE(group_of, int32_t, n_expert * sizeof(int32_t));
    HYB_PLACE(order, int32_t, n_choices * sizeof(int32_t));
    HYB_PLACE(place, int32_t, n_choices * sizeof(int32_t));
    HYB_PLACE(prepared, int32_t, n_choices * sizeof(int32_t));
    HYB_PLACE(groups, hyb_expert_group, HYB_MIN(n_choices, n_expert) * sizeof(hyb_expert_group));
    for (i = 0; i < op->n_out; i++) {
        job->kernel[i] = kernel = hyb_matmul_kernel_for(isa, op->out[i].w->type);
        job->slot_bytes = HYB_MAX(kernel->one->bytes(job->k), kernel->many->bytes(job->k));
        rows = HYB_MAX(rows, (int64_t)kernel->row_step);
        if (!hyb_matmul_by_gemv(kernel, op->n))
            kernel_bytes = HYB_MAX(kernel_bytes, hyb_align(kernel->scratch_bytes(job->k, op->n), 64));
        if ((job->decode[i] = hyb_matmul_decoder(op->out[i].w->type)) == NULL) continue;
        decoded_bytes = HYB_MAX(decoded_bytes, hyb_matmul_decoded_bytes(kernel, job->k, true));
        if (!hyb_matmul_by_gemv(kernel, op->n)) /* experts of few rows go by gemv all the same */
            decoded_bytes = HYB_MAX(decoded_bytes, hyb_matmul_decoded_bytes(kernel, job->k, false));
    }
    HYB_PLACE(acts, char, n_choices * job->slot_bytes);
    job->decoded_at = kernel_bytes;
    job->tile_at = kernel_bytes + decoded_bytes;
    /* of one row at most n choices are of one expert */
    job->lane_bytes = job->tile_at + hyb_align((size_t)op->n * (size_t)rows * sizeof(float), 64);
    HYB_PLACE(lane_scratch, char, job->lane_bytes *(size_t)lanes);
#undef HYB_PLACE
    return at;
}

/* Sorts the choices by expert, and counts the chunks. */
static void hyb_experts_group(hyb_experts_job *job, int lanes)
{
    const hyb_op_experts *op = job->op;
    hyb_expert_group *g;
    int i, o, at = 0;
    for (i = 0; i < (int)op->out[0].w->ne[2]; i++) job->group_of[i] = -1;
    for (i = 0; i < job->n_choices; i++) { /* experts in the order in which they come up */
        int32_t *group = &job->group_of[op->ids[i]];
        if (*group < 0) {
            *group = job->n_groups++;
            job->groups[*group].expert = op->ids[i];
            job->groups[*group].n = 0;
        }
        job->groups[*group].n++;
    }
    job->lanes_a_group = HYB_MAX(lanes / job->n_groups, 1);
    for (g = job->groups; g < job->groups + job->n_groups; g++) {
        g->first = at;
        at += g->n;
        for (o = 0; o < op->n_out; o++) {
            const int64_t rows = hyb_matmul_chunk_rows(job->kernel[o], op->out[o].w, g->n, job->lanes_a_group);
            g->first_chunk[o] = job->n_chunks;
            job->n_chunks += (int)((op->out[o].w->ne[1] + rows - 1) / rows);
        }
        g->n = 0;
    }
    for (i = 0; i < job->n_choices; i++) {
        g = &job->groups[job->group_of[op->ids[i]]];
        job->place[i] = g->first + g->n++;
        job->order[job->place[i]] = i;
    }
    job->chunks_a_turn = job->n_chunks / HYB_MAX_CHUNKS + 1;
}

/* The row at a place of a group. */
static char *hyb_experts_acts(const hyb_experts_job *job, const hyb_expert_group *g, int32_t place)
{
    const hyb_matmul_kernel *kernel = job->kernel[0];
    if (hyb_matmul_by_gemv(kernel, g->n)) return job->acts + (size_t)place * job->slot_bytes;
    return job->acts + (size_t)g->first * job->slot_bytes + (size_t)(place - g->first) * kernel->many->bytes(job->k);
}

/* Prepares one row of x wherever it is read: once for gemv, and once for gemm, of which the other places get copies. */
static void hyb_experts_prepare_row(hyb_experts_job *job, int row)
{
    const hyb_op_experts *op = job->op;
    const hyb_matmul_kernel *kernel = job->kernel[0];
    const float *x = op->x + row * op->x_stride;
    const int choices = op->each_own ? 1 : op->n_used;
    const char *copied = NULL;
    int32_t shared = -1;
    int c;
    for (c = row * choices; c < (row + 1) * choices; c++) {
        const hyb_expert_group *g = &job->groups[job->group_of[op->ids[c]]];
        const int32_t place = job->place[c];
        char *acts = hyb_experts_acts(job, g, place);
        if (hyb_matmul_by_gemv(kernel, g->n)) {
            if (shared < 0) kernel->one->prepare(x, job->k, acts);
            if (shared < 0) shared = place;
            job->prepared[place] = shared;
        } else {
            if (copied)
                memcpy(acts, copied, kernel->many->bytes(job->k));
            else
                kernel->many->prepare(x, job->k, acts);
            copied = acts;
        }
    }
}
static void hyb_experts_prepare(void *arg, int chunk, int lane)
{
    hyb_experts_job *job = (hyb_experts_job *)arg;
    const int n = job->op->each_own ? job->n_choices : job->op->n, end = HYB_MIN(n, (chunk + 1) * HYB_MATMUL_PREPARE);
    int row;
    HYB_UNUSED(lane);
    for (row = chunk * HYB_MATMUL_PREPARE; row < end; row++) hyb_experts_prepare_row(job, row);
}

/* Some rows of matrix o of one expert, at `data`, for all of its rows of x; `row` is the first one's number. */
static void hyb_experts_rows(const hyb_experts_job *job, const hyb_expert_group *g, int o, const char *data,
                             size_t row_bytes, int64_t row, int64_t n_rows, char *scratch)
{
    const hyb_op_experts *op = job->op;
    const hyb_matmul_kernel *kernel = job->kernel[o];
    const int32_t *order = job->order + g->first, *prepared = job->prepared + g->first;
    float *y = op->out[o].y + row, *tile = (float *)(void *)(scratch + job->tile_at);
    int64_t r, step = g->n == 1 ? n_rows : HYB_MAX((int64_t)(HYB_MATMUL_WARM / row_bytes), 1);
    int i;
    if (hyb_matmul_by_gemv(kernel, g->n)) {
        for (r = 0; r < n_rows; r += step)
            for (i = 0; i < g->n; i++)
                kernel->gemv(data, row_bytes, job->k, job->acts + (size_t)prepared[i] * job->slot_bytes,
                             y + order[i] * op->out[o].y_stride + r, r, HYB_MIN(r + step, n_rows));
        return;
    }
    kernel->gemm(data, row_bytes, job->k, hyb_experts_acts(job, g, g->first), g->n, tile, n_rows, 0, n_rows, scratch);
    for (i = 0; i < g->n; i++)
        memcpy(y + order[i] * op->out[o].y_stride, tile + i * n_rows, (size_t)n_rows * sizeof *y);
}

/* Rows r0 .. r1 of matrix o of one expert, as they are or decoded. */
static void hyb_experts_part(const hyb_experts_job *job, const hyb_expert_group *g, int o, int64_t r0, int64_t r1,
                             char *scratch)
{
    const hyb_tensor *w = job->op->out[o].w;
    const char *data = (const char *)w->data + (size_t)g->expert * w->nb[2];
    float *decoded = (float *)(void *)(scratch + job->decoded_at);
    int64_t r, n = r1 - r0;
    if (job->decode[o]) n = hyb_matmul_decoded_rows(job->kernel[o], job->k, hyb_matmul_by_gemv(job->kernel[o], g->n));
    for (r = r0; r < r1; r += n) {
        const int64_t rows = HYB_MIN(n, r1 - r);
        const char *from = data + (size_t)r * w->nb[1];
        if (job->decode[o]) hyb_matmul_decode(job->decode[o], from, w->nb[1], job->k, rows, decoded);
        if (job->decode[o])
            hyb_experts_rows(job, g, o, (const char *)decoded, (size_t)job->k * sizeof(float), r, rows, scratch);
        else
            hyb_experts_rows(job, g, o, from, w->nb[1], r, rows, scratch);
    }
}

static void hyb_experts_chunk(const hyb_experts_job *job, int chunk, int lane)
{
    const hyb_op_experts *op = job->op;
    const hyb_expert_group *g = job->groups;
    int n = job->n_groups, o;
    int64_t rows, r0;
    while (n > 1) { /* the last group whose first chunk is not beyond */
        const int half = n / 2;
        if (g[half].first_chunk[0] <= chunk) {
            g += half;
            n -= half;
        } else
            n = half;
    }
    o = op->n_out > 1 && g->first_chunk[1] <= chunk;
    rows = hyb_matmul_chunk_rows(job->kernel[o], op->out[o].w, g->n, job->lanes_a_group);
    r0 = (chunk - g->first_chunk[o]) * rows;
    hyb_experts_part(job, g, o, r0, HYB_MIN(r0 + rows, op->out[o].w->ne[1]),
                     job->lane_scratch + (size_t)lane * job->lane_bytes);
}
static void hyb_experts_turn(void *arg, int turn, int lane)
{
    const hyb_experts_job *job = (const hyb_experts_job *)arg;
    int chunk, end = HYB_MIN((turn + 1) * job->chunks_a_turn, job->n_chunks);
    for (chunk = turn * job->chunks_a_turn; chunk < end; chunk++) hyb_experts_chunk(job, chunk, lane);
}

/* scratch: hyb_experts_layout's bytes for each matrix alone. */
static void hyb_experts_run(hybrid_runtime *rt, hyb_pace *pace, hyb_isa isa, void *scratch, const hyb_op_experts *op)
{
    hyb_experts_job job;
    int rows;
    if (op->n_out > 1 && !hyb_experts_alike(hyb_matmul_kernel_for(isa, op->out[0].w->type),
                                            hyb_matmul_kernel_for(isa, op->out[1].w->type))) {
        hyb_op_experts one = *op; /* types that read their rows in different formats: one after the other */
        one.n_out = 1;
        hyb_experts_run(rt, pace, isa, scratch, &one);
        one.out[0] = op->out[1];
        hyb_experts_run(rt, pace, isa, scratch, &one);
        return;
    }
    if (op->n < 1 || hyb_pace_skip(pace, 2)) return; /* what is in scratch may be another op's */
    hyb_experts_layout(&job, isa, hyb_lanes(rt), (char *)scratch, op);
    hyb_experts_group(&job, hyb_lanes(rt));
    rows = op->each_own ? job.n_choices : op->n;
    hyb_pace_run(pace, rt, (rows + HYB_MATMUL_PREPARE - 1) / HYB_MATMUL_PREPARE, hyb_experts_prepare, &job);
    hyb_pace_run(pace, rt, (job.n_chunks + job.chunks_a_turn - 1) / job.chunks_a_turn, hyb_experts_turn, &job);
}

/* Scratch of the largest op with the matrices w. */
static size_t hyb_experts_bytes(const hybrid_runtime *rt, const hyb_limits *limits, const hyb_tensor *w)
{
    hyb_op_experts op;
    hyb_experts_job job;
    memset(&op, 0, sizeof op);
    op.n = limits->n_rows;
    op.n_used = limits->n_expert_used;
    op.n_out = 1;
    op.out[0].w = w;
    return hyb_experts_layout(&job, rt->isa, hyb_lanes(rt), NULL, &op);
}
#endif
