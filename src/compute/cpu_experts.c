/* compute/cpu_experts: mixtures of experts on the CPU: the choice of the experts, and products with the matrices of those chosen.
 *
 * The rows are put in the order of their experts, so that a chosen expert's matrix is read once for all of its rows: for few of them by gemv, for
 * many by gemm. All experts and both matrices are chunks of one parallel section. gemv and gemm give the same bits, so a row's result does not depend
 * on how many others chose the same expert. */

/* Scalar, in one order: 32 partial sums over the index % 32, halved, as for every sum over a row. */
static void hybrid__route_row(const hybrid__op_route *op, int64_t row)
{
    const float *x = op->logits + row * op->n_expert;
    int32_t *ids = op->ids + row * op->n_used;
    float *weights = op->weights + row * op->n_used, p[32] = { 0 }, most, sum, v;
    int i, at, n = 0;
    for (i = 0; i < op->n_expert; i++) {
        v = x[i] == x[i] ? x[i] : -HUGE_VALF;
        if (n == op->n_used && !(v > weights[n - 1])) continue;
        for (at = n < op->n_used ? n++ : n - 1; at > 0 && v > weights[at - 1]; at--) { ids[at] = ids[at - 1]; weights[at] = weights[at - 1]; }
        ids[at] = i;
        weights[at] = v;
    }
    if (op->kind == HYBRID__ROUTE_SIGMOID) {
        for (i = 0; i < op->n_used; i++) weights[i] = hybrid__times_sigmoid_scalar(1.0f, weights[i], 0.0f) * op->scale;
        return;
    }
    most = weights[0];
    for (i = 0; i < op->n_expert; i++) p[i % 32] = p[i % 32] + (x[i] == x[i] ? hybrid__exp_scalar(x[i] - most) : 0.0f);
    sum = hybrid__halve(p, 32);
    for (i = 0; i < op->n_used; i++) weights[i] = hybrid__exp_scalar(weights[i] - most) / sum;
    if (op->norm) {
        for (sum = 0, i = 0; i < op->n_used; i++) sum = sum + weights[i];
        for (i = 0; i < op->n_used; i++) weights[i] = weights[i] / sum;
    }
    for (i = 0; i < op->n_used; i++) weights[i] = weights[i] * op->scale;
}

/* ---- products ---- */

typedef struct hybrid__expert_group {      /* an expert that some rows chose */
    int32_t expert, first, n;              /* its rows: order[first .. first + n) */
    int32_t first_chunk[2];                /* of each matrix */
} hybrid__expert_group;

/* A choice is one (row, s), numbered row * n_used + s. Memory: group_of (n_expert), order, place, prepared (choices each), groups (as many as experts
 * can be chosen), acts, and scratch of the lanes. */
typedef struct hybrid__experts_job {
    const hybrid__op_experts *op;
    const hybrid__matmul_kernel *kernel[2];
    int64_t k;
    int     n_choices, n_groups, n_chunks, chunks_a_turn, lanes_a_group;
    int32_t *group_of;
    int32_t *order;                        /* the choices, expert by expert */
    int32_t *place;                        /* the inverse: where in order a choice stands */
    int32_t *prepared;                     /* gemv: the place whose prepared row the one at this place reads. Rows that several experts read are prepared once */
    hybrid__expert_group *groups;
    char   *acts;                          /* a prepared row for each place; the rows of a gemm without gaps */
    size_t  slot_bytes;
    char   *lane_scratch;
    size_t  lane_bytes, tile_at;           /* the kernel's scratch, then results of a gemm, whose rows go to many places */
} hybrid__experts_job;

static bool hybrid__experts_alike(const hybrid__matmul_kernel *a, const hybrid__matmul_kernel *b)
{
    return a->one == b->one && a->many == b->many && a->gemv_up_to == b->gemv_up_to;
}

/* Lays out the job in scratch (NULL: only counts) and returns the bytes that it takes: no fewer for more rows, experts a row, or lanes. All matrices
 * read rows in the same formats. */
static size_t hybrid__experts_layout(hybrid__experts_job *job, hybrid__isa isa, int lanes, char *scratch, const hybrid__op_experts *op)
{
    const hybrid__tensor *w = op->out[0].w;
    const size_t n_choices = (size_t)op->n * (size_t)op->n_used, n_expert = (size_t)w->ne[2];
    const hybrid__matmul_kernel *kernel;
    size_t at = 0, kernel_bytes = 0;
    int64_t rows = HYBRID__MATMUL_ROWS;
    int i;
    memset(job, 0, sizeof *job);
    job->op = op;
    job->k = w->ne[0];
    job->n_choices = (int)n_choices;
#define HYBRID__PLACE(field, type, bytes) (job->field = scratch ? (type *)(void *)(scratch + at) : NULL, at += hybrid__align(bytes, 64))
    HYBRID__PLACE(group_of, int32_t, n_expert * sizeof(int32_t));
    HYBRID__PLACE(order, int32_t, n_choices * sizeof(int32_t));
    HYBRID__PLACE(place, int32_t, n_choices * sizeof(int32_t));
    HYBRID__PLACE(prepared, int32_t, n_choices * sizeof(int32_t));
    HYBRID__PLACE(groups, hybrid__expert_group, HYBRID__MIN(n_choices, n_expert) * sizeof(hybrid__expert_group));
    for (i = 0; i < op->n_out; i++) {
        job->kernel[i] = kernel = hybrid__matmul_kernel_for(isa, op->out[i].w->type);
        job->slot_bytes = HYBRID__MAX(kernel->one->bytes(job->k), kernel->many->bytes(job->k));
        rows = HYBRID__MAX(rows, (int64_t)kernel->row_step);
        if (!hybrid__matmul_by_gemv(kernel, op->n)) kernel_bytes = HYBRID__MAX(kernel_bytes, hybrid__align(kernel->scratch_bytes(job->k, op->n), 64));
    }
    HYBRID__PLACE(acts, char, n_choices * job->slot_bytes);
    job->tile_at = kernel_bytes;
    job->lane_bytes = kernel_bytes + hybrid__align((size_t)op->n * (size_t)rows * sizeof(float), 64);     /* of one row at most n choices are of one expert */
    HYBRID__PLACE(lane_scratch, char, job->lane_bytes * (size_t)lanes);
#undef HYBRID__PLACE
    return at;
}

/* Sorts the choices by expert, and counts the chunks. */
static void hybrid__experts_group(hybrid__experts_job *job, int lanes)
{
    const hybrid__op_experts *op = job->op;
    hybrid__expert_group *g;
    int i, o, at = 0;
    for (i = 0; i < (int)op->out[0].w->ne[2]; i++) job->group_of[i] = -1;
    for (i = 0; i < job->n_choices; i++) {             /* experts in the order in which they come up */
        int32_t *group = &job->group_of[op->ids[i]];
        if (*group < 0) {
            *group = job->n_groups++;
            job->groups[*group].expert = op->ids[i];
            job->groups[*group].n = 0;
        }
        job->groups[*group].n++;
    }
    job->lanes_a_group = HYBRID__MAX(lanes / job->n_groups, 1);
    for (g = job->groups; g < job->groups + job->n_groups; g++) {
        g->first = at;
        at += g->n;
        for (o = 0; o < op->n_out; o++) {
            const int64_t rows = hybrid__matmul_chunk_rows(job->kernel[o], op->out[o].w, g->n, job->lanes_a_group);
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
    job->chunks_a_turn = job->n_chunks / HYBRID__MAX_CHUNKS + 1;
}

/* The row at a place of a group. */
static char *hybrid__experts_acts(const hybrid__experts_job *job, const hybrid__expert_group *g, int32_t place)
{
    const hybrid__matmul_kernel *kernel = job->kernel[0];
    if (hybrid__matmul_by_gemv(kernel, g->n)) return job->acts + (size_t)place * job->slot_bytes;
    return job->acts + (size_t)g->first * job->slot_bytes + (size_t)(place - g->first) * kernel->many->bytes(job->k);
}

/* Prepares one row of x wherever it is read: once for gemv, and once for gemm, of which the other places get copies. */
static void hybrid__experts_prepare_row(hybrid__experts_job *job, int row)
{
    const hybrid__op_experts *op = job->op;
    const hybrid__matmul_kernel *kernel = job->kernel[0];
    const float *x = op->x + row * op->x_stride;
    const int choices = op->each_own ? 1 : op->n_used;
    const char *copied = NULL;
    int32_t shared = -1;
    int c;
    for (c = row * choices; c < (row + 1) * choices; c++) {
        const hybrid__expert_group *g = &job->groups[job->group_of[op->ids[c]]];
        const int32_t place = job->place[c];
        char *acts = hybrid__experts_acts(job, g, place);
        if (hybrid__matmul_by_gemv(kernel, g->n)) {
            if (shared < 0) kernel->one->prepare(x, job->k, acts);
            if (shared < 0) shared = place;
            job->prepared[place] = shared;
        } else {
            if (copied) memcpy(acts, copied, kernel->many->bytes(job->k));
            else kernel->many->prepare(x, job->k, acts);
            copied = acts;
        }
    }
}
static void hybrid__experts_prepare(void *arg, int chunk, int lane)
{
    hybrid__experts_job *job = (hybrid__experts_job *)arg;
    const int n = job->op->each_own ? job->n_choices : job->op->n, end = HYBRID__MIN(n, (chunk + 1) * HYBRID__MATMUL_PREPARE);
    int row;
    HYBRID__UNUSED(lane);
    for (row = chunk * HYBRID__MATMUL_PREPARE; row < end; row++) hybrid__experts_prepare_row(job, row);
}

/* Rows r0 .. r1 of matrix o of one expert, for all of its rows of x. */
static void hybrid__experts_rows(const hybrid__experts_job *job, const hybrid__expert_group *g, int o, int64_t r0, int64_t r1, char *scratch)
{
    const hybrid__op_experts *op = job->op;
    const hybrid__matmul_kernel *kernel = job->kernel[o];
    const hybrid__tensor *w = op->out[o].w;
    const char *data = (const char *)w->data + (size_t)g->expert * w->nb[2];
    const int32_t *order = job->order + g->first, *prepared = job->prepared + g->first;
    float *y = op->out[o].y, *tile = (float *)(void *)(scratch + job->tile_at);
    int64_t r, step = g->n == 1 ? r1 - r0 : HYBRID__MAX((int64_t)(HYBRID__MATMUL_WARM / w->nb[1]), 1);
    int i;
    if (hybrid__matmul_by_gemv(kernel, g->n)) {
        for (r = r0; r < r1; r += step)
            for (i = 0; i < g->n; i++)
                kernel->gemv(data, w->nb[1], job->k, job->acts + (size_t)prepared[i] * job->slot_bytes, y + order[i] * op->out[o].y_stride + r, r, HYBRID__MIN(r + step, r1));
        return;
    }
    kernel->gemm(data, w->nb[1], job->k, hybrid__experts_acts(job, g, g->first), g->n, tile, r1 - r0, r0, r1, scratch);
    for (i = 0; i < g->n; i++) memcpy(y + order[i] * op->out[o].y_stride + r0, tile + i * (r1 - r0), (size_t)(r1 - r0) * sizeof *y);
}

static void hybrid__experts_chunk(const hybrid__experts_job *job, int chunk, int lane)
{
    const hybrid__op_experts *op = job->op;
    const hybrid__expert_group *g = job->groups;
    int n = job->n_groups, o;
    int64_t rows, r0;
    while (n > 1) {                                    /* the last group whose first chunk is not beyond */
        const int half = n / 2;
        if (g[half].first_chunk[0] <= chunk) { g += half; n -= half; } else n = half;
    }
    o = op->n_out > 1 && g->first_chunk[1] <= chunk;
    rows = hybrid__matmul_chunk_rows(job->kernel[o], op->out[o].w, g->n, job->lanes_a_group);
    r0 = (chunk - g->first_chunk[o]) * rows;
    hybrid__experts_rows(job, g, o, r0, HYBRID__MIN(r0 + rows, op->out[o].w->ne[1]), job->lane_scratch + (size_t)lane * job->lane_bytes);
}
static void hybrid__experts_turn(void *arg, int turn, int lane)
{
    const hybrid__experts_job *job = (const hybrid__experts_job *)arg;
    int chunk, end = HYBRID__MIN((turn + 1) * job->chunks_a_turn, job->n_chunks);
    for (chunk = turn * job->chunks_a_turn; chunk < end; chunk++) hybrid__experts_chunk(job, chunk, lane);
}

/* scratch: hybrid__experts_layout's bytes for each matrix alone. */
static void hybrid__experts_run(hybrid_runtime *rt, hybrid__isa isa, void *scratch, const hybrid__op_experts *op)
{
    hybrid__experts_job job;
    int rows;
    if (op->n_out > 1 && !hybrid__experts_alike(hybrid__matmul_kernel_for(isa, op->out[0].w->type), hybrid__matmul_kernel_for(isa, op->out[1].w->type))) {
        hybrid__op_experts one = *op;                  /* types that read their rows in different formats: one after the other */
        one.n_out = 1;
        hybrid__experts_run(rt, isa, scratch, &one);
        one.out[0] = op->out[1];
        hybrid__experts_run(rt, isa, scratch, &one);
        return;
    }
    if (op->n < 1) return;
    hybrid__experts_layout(&job, isa, hybrid__lanes(rt), (char *)scratch, op);
    hybrid__experts_group(&job, hybrid__lanes(rt));
    rows = op->each_own ? job.n_choices : op->n;
    hybrid__parallel(rt, (rows + HYBRID__MATMUL_PREPARE - 1) / HYBRID__MATMUL_PREPARE, hybrid__experts_prepare, &job);
    hybrid__parallel(rt, (job.n_chunks + job.chunks_a_turn - 1) / job.chunks_a_turn, hybrid__experts_turn, &job);
}

/* Scratch of the largest op with the matrices w. */
static size_t hybrid__experts_bytes(const hybrid_runtime *rt, const hybrid__limits *limits, const hybrid__tensor *w)
{
    hybrid__op_experts op;
    hybrid__experts_job job;
    memset(&op, 0, sizeof op);
    op.n = limits->n_rows; op.n_used = limits->n_expert_used;
    op.n_out = 1;
    op.out[0].w = w;
    return hybrid__experts_layout(&job, rt->isa, hybrid__lanes(rt), NULL, &op);
}
