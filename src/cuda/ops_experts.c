/* cuda/ops_experts: mixtures of experts: the choice of experts for each row, products with the matrices of the chosen ones, and the weighted sum.
 *
 * Which experts were chosen is known on the device alone: nothing waits for the host, and a decode step with them is captured like any other. Two ways:
 *
 *   few rows                for every (row, chosen expert) a product of matvec.cu, which reads the expert's number itself; W is read once for each pair
 *   more                    the pairs are sorted by expert (experts.cu), and tiles of up to 8, 32 or 64 pairs of one expert go through kernels that take their
 *                           tile from a map in device memory. The grid is as large as the map can become; what is behind its end leaves at once
 *       quantized           matbatch.cu: bytes, integer tensor cores; x is quantized in sorted order
 *       F16, BF16           gemm.cu: tensor cores; x as 16-bit floats, read from where it is
 *       F32, unaligned rows gemm_f32.cu: float32
 *
 * A pair's result does not depend on the other pairs of the batch, nor on where sorting has put it, only on which of the two ways is taken. */

#define HYBRID__CUDA_KERNELS_EXPERTS(X) X(route) X(sort_by_expert)
#define HYBRID__KERNEL_NUMBER(name_) HYBRID__KERNEL_##name_,
enum { HYBRID__CUDA_KERNELS_EXPERTS(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_EXPERTS };
#undef HYBRID__KERNEL_NUMBER
enum { HYBRID__KERNEL_TENSOR_64, HYBRID__KERNEL_TENSOR_32 };        /* of the modules experts_tensor */
enum { HYBRID__CUDA_PLACES = 8 };                                  /* an expert's rows begin at a multiple: PLACES of experts.cu */

/* What of the kernels' structure `sorted`: the map's tiles, and the order of the pairs. share: rows of y that read one row of x. */
typedef struct hybrid__cuda_sorted { const void *map; const int32_t *order, *total; int32_t share; } hybrid__cuda_sorted;

typedef struct hybrid__cuda_experts_job {
    hybrid__cuda_queue *q;
    const hybrid__op_experts *op;
    int64_t n_pairs, n_expert, k;
    int     share;
    int     tile;                           /* of the map in the scratch; 0: there is none yet */
    char   *map, *order, *total, *x;        /* scratch */
    hybrid__cuda_x form;                    /* of x there */
} hybrid__cuda_experts_job;

/* ---- sizes: follow from the numbers of rows and experts, not from what is chosen ---- */

/* Few enough pairs that hardly two of them ask for one expert. */
static bool hybrid__cuda_experts_few(int64_t n, int64_t n_used, int64_t n_expert) { return n == 1 || 2 * n * n_used <= n_expert; }

/* Places in sorted order, and tiles of them, when the choice is the worst. */
static int64_t hybrid__cuda_experts_places(int64_t n_pairs, int64_t n_expert)
{
    return (n_pairs + (HYBRID__CUDA_PLACES - 1) * HYBRID__MIN(n_pairs, n_expert)) / HYBRID__CUDA_PLACES * HYBRID__CUDA_PLACES;
}
static int64_t hybrid__cuda_experts_tiles(int64_t n_pairs, int64_t n_expert, int tile) { return (n_pairs + (tile - 1) * HYBRID__MIN(n_pairs, n_expert)) / tile; }

/* Pairs of a tile: small ones while most experts have only a few. Tensor cores take floats as they lie in the file or not at all. */
static int hybrid__cuda_experts_tile(hybrid_type type, int64_t k, int64_t n_pairs, int64_t n_expert, int cc)
{
    if (!hybrid__cuda_is_float(type)) return n_pairs <= 8 * n_expert ? 8 : 64;
    if (hybrid__cuda_as_it_is(type, k, cc)) return n_pairs <= 32 * n_expert ? 32 : 64;
    return 64;
}

static size_t hybrid__cuda_experts_map_bytes(int64_t n_pairs, int64_t n_expert)
{
    return hybrid__align((size_t)hybrid__cuda_experts_tiles(n_pairs, n_expert, HYBRID__CUDA_PLACES) * 16, 256);
}
static size_t hybrid__cuda_experts_order_bytes(int64_t n_pairs, int64_t n_expert) { return hybrid__align((size_t)hybrid__cuda_experts_places(n_pairs, n_expert) * 4, 256); }

/* Bytes of scratch for products of up to n rows with n_used of n_expert matrices (k, out), as hybrid__cuda_matmul_scratch. */
static size_t hybrid__cuda_experts_scratch(hybrid_type type, int64_t k, int64_t n_expert, int n, int n_used, int cc)
{
    const int64_t n_pairs = (int64_t)n * n_used;
    const size_t sorted = hybrid__cuda_experts_map_bytes(n_pairs, n_expert) + hybrid__cuda_experts_order_bytes(n_pairs, n_expert) + 256;
    const size_t bytes = (size_t)hybrid__cuda_experts_places(n_pairs, n_expert) * (size_t)(k + k / 16 * 4 + k / 32 * 4);
    if (!hybrid__cuda_is_float(type)) return sorted + hybrid__align(bytes, 256);
    return sorted + (hybrid__cuda_as_it_is(type, k, cc) ? hybrid__align((size_t)n_pairs * (size_t)k * 2, 256) : 0);
}

/* ---- the sorted order, and x ---- */

static hybrid__cuda_sorted hybrid__cuda_experts_sorted(const hybrid__cuda_experts_job *job)
{
    hybrid__cuda_sorted s;
    s.map = job->map;
    s.order = (const int32_t *)(const void *)job->order;
    s.total = (const int32_t *)(const void *)job->total;
    s.share = job->share;
    return s;
}

static void hybrid__cuda_experts_sort(hybrid__cuda_experts_job *job, int tile)
{
    const int32_t *ids = job->op->ids;
    int32_t n_pairs = (int32_t)job->n_pairs;
    void *args[6];
    if (job->tile == tile) return;
    job->tile = tile;
    args[0] = &ids; args[1] = &n_pairs; args[2] = &job->tile; args[3] = &job->order; args[4] = &job->map; args[5] = &job->total;
    hybrid__cuda_grid(job->q, HYBRID__MODULE_EXPERTS, HYBRID__KERNEL_sort_by_expert, job->n_expert, 1, 256, args);
}

/* x as bytes: as in hybrid__cuda_matmul_x, for this many rows or places. */
static float *hybrid__cuda_experts_sums(const hybrid__cuda_experts_job *job, int64_t rows) { return (float *)(void *)(job->x + rows * job->k); }
static float *hybrid__cuda_experts_scales(const hybrid__cuda_experts_job *job, int64_t rows) { return hybrid__cuda_experts_sums(job, rows) + rows * (job->k / 16); }

static int64_t hybrid__cuda_experts_x_rows(const hybrid__cuda_experts_job *job) { return job->n_pairs / job->share; }

/* Rows of x one behind the other: quantized, or as 16-bit floats. A grid has at most 65535 rows. */
static void hybrid__cuda_experts_x(hybrid__cuda_experts_job *job, hybrid__cuda_x form)
{
    const int64_t rows = hybrid__cuda_experts_x_rows(job);
    int64_t x_stride = job->op->x_stride, first;
    int32_t k = (int32_t)job->k;
    if (job->form == form) return;
    job->form = form;
    for (first = 0; first < rows; first += 65535) {
        const float *x = job->op->x + first * x_stride;
        char *to = job->x + first * job->k * (form == HYBRID__CUDA_X_Q8 ? 1 : 2);
        float *d = hybrid__cuda_experts_scales(job, rows) + first * (k / 32), *s = hybrid__cuda_experts_sums(job, rows) + first * (k / 16);
        void *args[6];
        args[0] = &x; args[1] = &x_stride; args[2] = &k; args[3] = &to;
        if (form == HYBRID__CUDA_X_Q8) { args[4] = &d; args[5] = &s; }
        else args[4] = &k;
        hybrid__cuda_grid(job->q, HYBRID__MODULE_QUANTIZE, form == HYBRID__CUDA_X_Q8 ? HYBRID__KERNEL_quantize : form == HYBRID__CUDA_X_HALF ? HYBRID__KERNEL_to_half : HYBRID__KERNEL_to_bf16,
                          hybrid__div_up(k, 256), HYBRID__MIN(rows - first, 65535), 256, args);
    }
}

/* Places in sorted order: quantized, in tiles. */
static void hybrid__cuda_experts_x_sorted(hybrid__cuda_experts_job *job)
{
    const int64_t places = hybrid__cuda_experts_places(job->n_pairs, job->n_expert);
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int32_t k = (int32_t)job->k;
    float *d = hybrid__cuda_experts_scales(job, places), *s = hybrid__cuda_experts_sums(job, places);
    void *args[9];
    if (job->form == HYBRID__CUDA_X_Q8) return;
    job->form = HYBRID__CUDA_X_Q8;
    args[0] = &x; args[1] = &x_stride; args[2] = &k; args[3] = &job->order; args[4] = &job->total; args[5] = &job->share; args[6] = &job->x; args[7] = &d; args[8] = &s;
    hybrid__cuda_grid(job->q, HYBRID__MODULE_QUANTIZE, HYBRID__KERNEL_quantize_sorted, places, hybrid__div_up(k, 256), 256, args);
}

/* ---- products ---- */

static void hybrid__cuda_experts_few_rows(hybrid__cuda_experts_job *job, hybrid_type type, hybrid__cuda_matrices *ms, int64_t row_bytes)
{
    const bool quantized = !hybrid__cuda_is_float(type), near_x = quantized && job->k <= HYBRID__CUDA_NEAR_K;
    const int64_t blocks = hybrid__div_up(hybrid__cuda_matmul_blocks(ms, HYBRID__CUDA_MATVEC_ROWS), HYBRID__CUDA_MATVEC_WARPS);
    const int64_t most = (int64_t)HYBRID__MAX(job->q->cu->n_sm, 1) * 8, turns = hybrid__div_up(blocks * job->n_pairs, most);       /* as hybrid__cuda_matvec */
    const int32_t *ids = job->op->ids;
    int module = hybrid__cuda_module_of(HYBRID__MODULE_EXPERTS_1_F32, type);
    hybrid__cuda_operand o;
    void *args[4];
    memset(&o, 0, sizeof o);
    o.k = (int)job->k; o.n = 1; o.row_bytes = row_bytes;
    if (quantized && !near_x) {
        hybrid__cuda_experts_x(job, HYBRID__CUDA_X_Q8);
        module = hybrid__cuda_module_of_quant(HYBRID__MODULE_EXPERTS_1_FAR_Q4_0, type);
        o.x = job->x; o.x_stride = job->k;
        o.d = hybrid__cuda_experts_scales(job, hybrid__cuda_experts_x_rows(job)); o.s = hybrid__cuda_experts_sums(job, hybrid__cuda_experts_x_rows(job));
    } else {
        o.x = job->op->x; o.x_stride = job->op->x_stride;
    }
    args[0] = ms; args[1] = &o; args[2] = &ids; args[3] = &job->share;
    hybrid__cuda_launch3(job->q, module, 0, hybrid__div_up(blocks, turns), job->n_pairs, 1, 32 * HYBRID__CUDA_MATVEC_WARPS, 1,
                         near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hybrid__cuda_experts_quantized(hybrid__cuda_experts_job *job, hybrid_type type, hybrid__cuda_matrices *ms, int64_t row_bytes)
{
    const int64_t places = hybrid__cuda_experts_places(job->n_pairs, job->n_expert);
    const int tile = hybrid__cuda_experts_tile(type, job->k, job->n_pairs, job->n_expert, job->q->cu->cc);
    hybrid__cuda_sorted sorted = hybrid__cuda_experts_sorted(job);
    hybrid__cuda_tiles x;
    void *args[3];
    hybrid__cuda_experts_sort(job, tile);
    hybrid__cuda_experts_x_sorted(job);
    memset(&x, 0, sizeof x);
    x.k = (int)job->k; x.row_bytes = row_bytes;
    x.q = job->x; x.d = hybrid__cuda_experts_scales(job, places); x.s = hybrid__cuda_experts_sums(job, places);
    args[0] = ms; args[1] = &x; args[2] = &sorted;
    hybrid__cuda_grid(job->q, hybrid__cuda_module_of_quant(tile == 8 ? HYBRID__MODULE_EXPERTS_8_Q4_0 : HYBRID__MODULE_EXPERTS_64_Q4_0, type), 0,
                      hybrid__cuda_matmul_blocks(ms, HYBRID__CUDA_MATBATCH_ROWS), hybrid__cuda_experts_tiles(job->n_pairs, job->n_expert, tile), 128, args);
}

static void hybrid__cuda_experts_floats(hybrid__cuda_experts_job *job, const hybrid__tensor *w, float *y, int64_t y_stride)
{
    const int cc = job->q->cu->cc, tile = hybrid__cuda_experts_tile(w->type, job->k, job->n_pairs, job->n_expert, cc);
    const bool tensor = hybrid__cuda_as_it_is(w->type, job->k, cc), bf16 = hybrid__cuda_is_bf16(w->type, job->k, cc);
    const int64_t tiles = hybrid__cuda_experts_tiles(job->n_pairs, job->n_expert, tile);
    hybrid__cuda_sorted sorted = hybrid__cuda_experts_sorted(job);
    hybrid__cuda_product p;
    void *args[2];
    hybrid__cuda_experts_sort(job, tile);
    memset(&p, 0, sizeof p);
    p.k = (int)job->k; p.out = (int)w->ne[1];
    p.w = w->data; p.ldw = job->k; p.next = (int64_t)(w->nb[2] / w->nb[0]);
    p.y = y; p.y_stride = y_stride;
    args[0] = &p; args[1] = &sorted;
    if (tensor) {
        hybrid__cuda_experts_x(job, bf16 ? HYBRID__CUDA_X_BF16 : HYBRID__CUDA_X_HALF);
        p.x = job->x; p.ldx = job->k;
        hybrid__cuda_grid(job->q, bf16 ? HYBRID__MODULE_EXPERTS_TENSOR_BF16 : HYBRID__MODULE_EXPERTS_TENSOR_F16, tile == 64 ? HYBRID__KERNEL_TENSOR_64 : HYBRID__KERNEL_TENSOR_32,
                          tiles, hybrid__div_up(p.out, 128), 256, args);
    } else {
        p.x = job->op->x; p.ldx = job->op->x_stride;
        hybrid__cuda_grid(job->q, hybrid__cuda_module_of_float(HYBRID__MODULE_EXPERTS_GEMM_F32, w->type), 0, tiles, hybrid__div_up(p.out, 64), 256, args);
    }
}

/* The matrices of the op that have the type of matrix `first` (and come behind it). */
static void hybrid__cuda_experts_of_type(hybrid__cuda_experts_job *job, int first)
{
    const hybrid__op_experts *op = job->op;
    const hybrid__tensor *w = op->out[first].w;
    const bool few = hybrid__cuda_experts_few(op->n, op->n_used, job->n_expert);
    hybrid__cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < op->n_out; i++) {
        hybrid__cuda_matrix *m = &ms.m[ms.n];
        if (op->out[i].w->type != w->type) continue;
        if (!few && hybrid__cuda_is_float(w->type)) {
            hybrid__cuda_experts_floats(job, op->out[i].w, op->out[i].y, op->out[i].y_stride);
            continue;
        }
        m->w = op->out[i].w->data; m->next = (int64_t)op->out[i].w->nb[2];
        m->y = op->out[i].y; m->y_stride = op->out[i].y_stride;
        m->rows = (int)op->out[i].w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (few) hybrid__cuda_experts_few_rows(job, w->type, &ms, (int64_t)w->nb[1]);
    else hybrid__cuda_experts_quantized(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* In hybrid__cuda_experts_scratch, for the matrices of the model, of the scratch. */
static void hybrid__cuda_op_experts(hybrid__cuda_at *at, const hybrid__op_experts *op)
{
    hybrid__cuda_experts_job job;
    int i, j;
    if (hybrid__form_refused(op->form)) at->refused = hybrid__form_refused(op->form);
    if (op->n < 1 || op->n_out < 1 || hybrid__form_refused(op->form)) return;
    memset(&job, 0, sizeof job);
    job.q = at->q; job.op = op;
    job.k = op->out[0].w->ne[0]; job.n_expert = op->out[0].w->ne[2];
    job.n_pairs = (int64_t)op->n * op->n_used;
    job.share = op->each_own ? 1 : op->n_used;
    job.total = at->scratch;
    job.map = job.total + 256;
    job.order = job.map + hybrid__cuda_experts_map_bytes(job.n_pairs, job.n_expert);
    job.x = job.order + hybrid__cuda_experts_order_bytes(job.n_pairs, job.n_expert);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (j == i) hybrid__cuda_experts_of_type(&job, i);
    }
}

/* ---- around them ---- */

static void hybrid__cuda_op_route(hybrid__cuda_at *at, const hybrid__op_route *op)
{
    hybrid__op_route o = *op;
    int32_t kind = op->kind == HYBRID__ROUTE_SIGMOID, norm = op->norm;
    void *args[8];
    args[0] = &o.logits; args[1] = &o.n_expert; args[2] = &o.n_used; args[3] = &kind; args[4] = &norm; args[5] = &o.scale; args[6] = &o.ids; args[7] = &o.weights;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_EXPERTS, HYBRID__KERNEL_route, op->n, 1, 1, (unsigned)hybrid__div_up(op->n_expert, 32) * 32, 1, 0, args);
}

static void hybrid__cuda_op_combine(hybrid__cuda_at *at, const hybrid__op_combine *op)
{
    const bool by_4 = hybrid__cuda_by_4(op->x, op->n_embd) && hybrid__cuda_by_4(op->add, op->n_embd) && hybrid__cuda_by_4(op->out, op->n_embd);
    hybrid__op_combine o = *op;
    int32_t n = (int32_t)op->n_embd;
    void *args[6];
    args[0] = &o.x; args[1] = &o.weights; args[2] = &o.n_used; args[3] = &n; args[4] = &o.add; args[5] = &o.out;
    hybrid__cuda_launch3(at->q, HYBRID__MODULE_ROWS, by_4 ? HYBRID__KERNEL_combine_4 : HYBRID__KERNEL_combine_1, hybrid__div_up(n, by_4 ? 1024 : 256), op->n, 1, 256, 1, 0, args);
}
