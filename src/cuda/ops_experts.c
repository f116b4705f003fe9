/* cuda/ops_experts: mixtures of experts: the choice of experts for each row, products with the matrices of the chosen
 * ones, and the weighted sum.
 *
 * Only the device knows which experts were chosen: nothing waits for the host, and a decode step with experts is
 * captured like any other. Two ways:
 *
 *   few rows                for every (row, chosen expert) a product of matvec.cu, which reads
 *                           the expert's number itself; W is read once for each pair
 *   more                    the pairs are sorted by expert (experts.cu), and tiles of up to 8,
 *                           32 or 64 pairs of one expert go through kernels that take their tile from a map in device
 *                           memory. The grid is as large as the map can become; what is after its end leaves at once
 *       quantized           matbatch.cu: bytes, integer tensor cores; x is quantized in sorted order
 *       F16, BF16           gemm.cu: tensor cores; x as 16-bit floats, read from where it is
 *       F32, unaligned rows gemm_f32.cu: float32
 *
 * A pair's result does not depend on the other pairs of the batch, nor on where sorting has put it, only on which of
 * the two ways is taken. */
#ifndef HYB_CUDA_OPS_EXPERTS_C
#define HYB_CUDA_OPS_EXPERTS_C
#include "ops_matmul.c"
#include "ops_rows.c"

#define HYB_CUDA_KERNELS_EXPERTS(X)           X(route) X(sort_by_expert)
#define HYB_CUDA_KERNELS_EXPERTS_BACK(X)      X(route_back) X(weigh) X(sum_choices) X(order_choices)
#define HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(X) X(experts_back_x) X(experts_back_w)
#define HYB_KERNEL_NUMBER(name_)              HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_EXPERTS(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS };
enum { HYB_CUDA_KERNELS_EXPERTS_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS_BACK };
enum { HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS_GEMM_BACK };
#undef HYB_KERNEL_NUMBER
enum { HYB_KERNEL_TENSOR_64, HYB_KERNEL_TENSOR_32 }; /* of the modules experts_tensor */
enum { HYB_CUDA_PLACES = 8 };                        /* an expert's rows begin at a multiple: PLACES of experts.cu */

/* From the kernels' structure `sorted`: the map's tiles, and the order of the pairs. share: rows of y that read one row
 * of x. */
typedef struct hyb_cuda_sorted {
    const void *map;
    const int32_t *order, *total;
    int32_t share;
} hyb_cuda_sorted;

typedef struct hyb_cuda_experts_job {
    hyb_cuda_queue *q;
    const hyb_op_experts *op;
    int64_t n_pairs, n_expert, k;
    int share;
    int tile;                      /* of the map in the scratch; 0: there is none yet */
    char *map, *order, *total, *x; /* scratch */
    hyb_cuda_x form;               /* of x there */
} hyb_cuda_experts_job;

/* ---- sizes: follow from the numbers of rows and experts, not from what is chosen --------------------------------- */

/* So few pairs that hardly two of them ask for the same expert. */
static bool hyb_cuda_experts_few(int64_t n, int64_t n_used, int64_t n_expert)
{
    return n == 1 || 2 * n * n_used <= n_expert;
}

/* Places in sorted order, and tiles of them, for the worst choice. */
static int64_t hyb_cuda_experts_places(int64_t n_pairs, int64_t n_expert)
{
    return (n_pairs + (HYB_CUDA_PLACES - 1) * HYB_MIN(n_pairs, n_expert)) / HYB_CUDA_PLACES * HYB_CUDA_PLACES;
}
static int64_t hyb_cuda_experts_tiles(int64_t n_pairs, int64_t n_expert, int tile)
{
    return (n_pairs + (tile - 1) * HYB_MIN(n_pairs, n_expert)) / tile;
}

/* Pairs of a tile: small ones while most experts have only a few. Tensor cores take floats as they lie in the file
 * or not at all. */
static int hyb_cuda_experts_tile(hybrid_type type, int64_t k, int64_t n_pairs, int64_t n_expert, int cc)
{
    if (!hyb_cuda_is_float(type)) return n_pairs <= 8 * n_expert ? 8 : 64;
    if (hyb_cuda_as_it_is(type, k, cc)) return n_pairs <= 32 * n_expert ? 32 : 64;
    return 64;
}

static size_t hyb_cuda_experts_map_bytes(int64_t n_pairs, int64_t n_expert)
{
    return hyb_align((size_t)hyb_cuda_experts_tiles(n_pairs, n_expert, HYB_CUDA_PLACES) * 16, 256);
}
static size_t hyb_cuda_experts_order_bytes(int64_t n_pairs, int64_t n_expert)
{
    return hyb_align((size_t)hyb_cuda_experts_places(n_pairs, n_expert) * 4, 256);
}

/* Bytes of scratch for products of up to n rows with n_used of n_expert matrices (k, out), as
 * hyb_cuda_matmul_scratch. */
static size_t hyb_cuda_experts_scratch(hybrid_type type, int64_t k, int64_t n_expert, int n, int n_used, int cc)
{
    const int64_t n_pairs = (int64_t)n * n_used;
    const size_t sorted =
        hyb_cuda_experts_map_bytes(n_pairs, n_expert) + hyb_cuda_experts_order_bytes(n_pairs, n_expert) + 256;
    const size_t bytes = (size_t)hyb_cuda_experts_places(n_pairs, n_expert) * (size_t)(k + k / 16 * 4 + k / 32 * 4);
    if (!hyb_cuda_is_float(type)) return sorted + hyb_align(bytes, 256);
    return sorted + (hyb_cuda_as_it_is(type, k, cc) ? hyb_align((size_t)n_pairs * (size_t)k * 2, 256) : 0);
}

/* ---- the sorted order, and x ------------------------------------------------------------------------------------- */

static hyb_cuda_sorted hyb_cuda_experts_sorted(const hyb_cuda_experts_job *job)
{
    hyb_cuda_sorted s;
    s.map = job->map;
    s.order = (const int32_t *)(const void *)job->order;
    s.total = (const int32_t *)(const void *)job->total;
    s.share = job->share;
    return s;
}

static void hyb_cuda_experts_sort(hyb_cuda_experts_job *job, int tile)
{
    const int32_t *ids = job->op->ids;
    int32_t n_pairs = (int32_t)job->n_pairs;
    void *args[6];
    if (job->tile == tile) return;
    job->tile = tile;
    args[0] = &ids;
    args[1] = &n_pairs;
    args[2] = &job->tile;
    args[3] = &job->order;
    args[4] = &job->map;
    args[5] = &job->total;
    hyb_cuda_grid(job->q, HYB_MODULE_EXPERTS, HYB_KERNEL_sort_by_expert, job->n_expert, 1, 256, args);
}

/* x as bytes: as in hyb_cuda_matmul_x, for this many rows or places. */
static float *hyb_cuda_experts_sums(const hyb_cuda_experts_job *job, int64_t rows)
{
    return (float *)(void *)(job->x + rows * job->k);
}
static float *hyb_cuda_experts_scales(const hyb_cuda_experts_job *job, int64_t rows)
{
    return hyb_cuda_experts_sums(job, rows) + rows * (job->k / 16);
}

static int64_t hyb_cuda_experts_x_rows(const hyb_cuda_experts_job *job) { return job->n_pairs / job->share; }

/* Rows of x one after the other: quantized, or as 16-bit floats. A grid has at most 65535 rows. */
static void hyb_cuda_experts_x(hyb_cuda_experts_job *job, hyb_cuda_x form)
{
    const int64_t rows = hyb_cuda_experts_x_rows(job);
    int64_t x_stride = job->op->x_stride, first;
    int32_t k = (int32_t)job->k;
    if (job->form == form) return;
    job->form = form;
    for (first = 0; first < rows; first += 65535) {
        const float *x = job->op->x + first * x_stride;
        char *to = job->x + first * job->k * (form == HYB_CUDA_X_Q8 ? 1 : 2);
        float *d = hyb_cuda_experts_scales(job, rows) + first * (k / 32),
              *s = hyb_cuda_experts_sums(job, rows) + first * (k / 16);
        void *args[6];
        args[0] = &x;
        args[1] = &x_stride;
        args[2] = &k;
        args[3] = &to;
        if (form == HYB_CUDA_X_Q8) {
            args[4] = &d;
            args[5] = &s;
        } else
            args[4] = &k;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE,
                      form == HYB_CUDA_X_Q8     ? HYB_KERNEL_quantize
                      : form == HYB_CUDA_X_HALF ? HYB_KERNEL_to_half
                                                : HYB_KERNEL_to_bf16,
                      hyb_div_up(k, 256), HYB_MIN(rows - first, 65535), 256, args);
    }
}

/* Places in sorted order: quantized, in tiles. */
static void hyb_cuda_experts_x_sorted(hyb_cuda_experts_job *job)
{
    const int64_t places = hyb_cuda_experts_places(job->n_pairs, job->n_expert);
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int32_t k = (int32_t)job->k;
    float *d = hyb_cuda_experts_scales(job, places), *s = hyb_cuda_experts_sums(job, places);
    void *args[9];
    if (job->form == HYB_CUDA_X_Q8) return;
    job->form = HYB_CUDA_X_Q8;
    args[0] = &x;
    args[1] = &x_stride;
    args[2] = &k;
    args[3] = &job->order;
    args[4] = &job->total;
    args[5] = &job->share;
    args[6] = &job->x;
    args[7] = &d;
    args[8] = &s;
    hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, HYB_KERNEL_quantize_sorted, places, hyb_div_up(k, 256), 256, args);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static void hyb_cuda_experts_few_rows(hyb_cuda_experts_job *job, hybrid_type type, hyb_cuda_matrices *ms,
                                      int64_t row_bytes)
{
    const bool quantized = !hyb_cuda_is_float(type), near_x = quantized && job->k <= HYB_CUDA_NEAR_K;
    const int64_t blocks = hyb_div_up(hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATVEC_ROWS), HYB_CUDA_MATVEC_WARPS);
    /* as hyb_cuda_matvec */
    const int64_t most = (int64_t)HYB_MAX(job->q->cu->n_sm, 1) * 8, turns = hyb_div_up(blocks * job->n_pairs, most);
    const int32_t *ids = job->op->ids;
    int module = hyb_cuda_module_of(HYB_MODULE_EXPERTS_1_F32, type);
    hyb_cuda_operand o;
    void *args[4];
    memset(&o, 0, sizeof o);
    o.k = (int)job->k;
    o.n = 1;
    o.row_bytes = row_bytes;
    if (quantized && !near_x) {
        hyb_cuda_experts_x(job, HYB_CUDA_X_Q8);
        module = hyb_cuda_module_of_quant(HYB_MODULE_EXPERTS_1_FAR_Q4_0, type);
        o.x = job->x;
        o.x_stride = job->k;
        o.d = hyb_cuda_experts_scales(job, hyb_cuda_experts_x_rows(job));
        o.s = hyb_cuda_experts_sums(job, hyb_cuda_experts_x_rows(job));
    } else {
        o.x = job->op->x;
        o.x_stride = job->op->x_stride;
    }
    args[0] = ms;
    args[1] = &o;
    args[2] = &ids;
    args[3] = &job->share;
    hyb_cuda_launch3(job->q, module, 0, hyb_div_up(blocks, turns), job->n_pairs, 1, 32 * HYB_CUDA_MATVEC_WARPS, 1,
                     near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hyb_cuda_experts_quantized(hyb_cuda_experts_job *job, hybrid_type type, hyb_cuda_matrices *ms,
                                       int64_t row_bytes)
{
    const int64_t places = hyb_cuda_experts_places(job->n_pairs, job->n_expert);
    const int tile = hyb_cuda_experts_tile(type, job->k, job->n_pairs, job->n_expert, job->q->cu->cc);
    hyb_cuda_sorted sorted = hyb_cuda_experts_sorted(job);
    hyb_cuda_tiles x;
    void *args[3];
    hyb_cuda_experts_sort(job, tile);
    hyb_cuda_experts_x_sorted(job);
    memset(&x, 0, sizeof x);
    x.k = (int)job->k;
    x.row_bytes = row_bytes;
    x.q = job->x;
    x.d = hyb_cuda_experts_scales(job, places);
    x.s = hyb_cuda_experts_sums(job, places);
    args[0] = ms;
    args[1] = &x;
    args[2] = &sorted;
    hyb_cuda_grid(job->q,
                  hyb_cuda_module_of_quant(tile == 8 ? HYB_MODULE_EXPERTS_8_Q4_0 : HYB_MODULE_EXPERTS_64_Q4_0, type), 0,
                  hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATBATCH_ROWS),
                  hyb_cuda_experts_tiles(job->n_pairs, job->n_expert, tile), 128, args);
}

static void hyb_cuda_experts_floats(hyb_cuda_experts_job *job, const hyb_tensor *w, float *y, int64_t y_stride)
{
    const int cc = job->q->cu->cc, tile = hyb_cuda_experts_tile(w->type, job->k, job->n_pairs, job->n_expert, cc);
    const bool tensor = hyb_cuda_as_it_is(w->type, job->k, cc), bf16 = hyb_cuda_is_bf16(w->type, job->k, cc);
    const int64_t tiles = hyb_cuda_experts_tiles(job->n_pairs, job->n_expert, tile);
    hyb_cuda_sorted sorted = hyb_cuda_experts_sorted(job);
    hyb_cuda_product p;
    void *args[2];
    hyb_cuda_experts_sort(job, tile);
    memset(&p, 0, sizeof p);
    p.k = (int)job->k;
    p.out = (int)w->ne[1];
    p.w = w->data;
    p.ldw = job->k;
    p.next = (int64_t)(w->nb[2] / w->nb[0]);
    p.y = y;
    p.y_stride = y_stride;
    args[0] = &p;
    args[1] = &sorted;
    if (tensor) {
        hyb_cuda_experts_x(job, bf16 ? HYB_CUDA_X_BF16 : HYB_CUDA_X_HALF);
        p.x = job->x;
        p.ldx = job->k;
        hyb_cuda_grid(job->q, bf16 ? HYB_MODULE_EXPERTS_TENSOR_BF16 : HYB_MODULE_EXPERTS_TENSOR_F16,
                      tile == 64 ? HYB_KERNEL_TENSOR_64 : HYB_KERNEL_TENSOR_32, tiles, hyb_div_up(p.out, 128), 256,
                      args);
    } else {
        p.x = job->op->x;
        p.ldx = job->op->x_stride;
        hyb_cuda_grid(job->q, hyb_cuda_module_of_float(HYB_MODULE_EXPERTS_GEMM_F32, w->type), 0, tiles,
                      hyb_div_up(p.out, 64), 256, args);
    }
}

/* The matrices of the op that have the type of matrix `first` (and come after it). */
static void hyb_cuda_experts_of_type(hyb_cuda_experts_job *job, int first)
{
    const hyb_op_experts *op = job->op;
    const hyb_tensor *w = op->out[first].w;
    const bool few = hyb_cuda_experts_few(op->n, op->n_used, job->n_expert);
    hyb_cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < op->n_out; i++) {
        hyb_cuda_matrix *m = &ms.m[ms.n];
        if (op->out[i].w->type != w->type) continue;
        if (!few && hyb_cuda_is_float(w->type)) {
            hyb_cuda_experts_floats(job, op->out[i].w, op->out[i].y, op->out[i].y_stride);
            continue;
        }
        m->w = op->out[i].w->data;
        m->next = (int64_t)op->out[i].w->nb[2];
        m->y = op->out[i].y;
        m->y_stride = op->out[i].y_stride;
        m->rows = (int)op->out[i].w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (few)
        hyb_cuda_experts_few_rows(job, w->type, &ms, (int64_t)w->nb[1]);
    else
        hyb_cuda_experts_quantized(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* In hyb_cuda_experts_scratch, for the matrices of the model, of the scratch. */
static void hyb_cuda_op_experts(hyb_cuda_at *at, const hyb_op_experts *op)
{
    hyb_cuda_experts_job job;
    int i, j;
    if (op->n < 1 || op->n_out < 1) return;
    memset(&job, 0, sizeof job);
    job.q = at->q;
    job.op = op;
    job.k = op->out[0].w->ne[0];
    job.n_expert = op->out[0].w->ne[2];
    job.n_pairs = (int64_t)op->n * op->n_used;
    job.share = op->each_own ? 1 : op->n_used;
    job.total = at->scratch;
    job.map = job.total + 256;
    job.order = job.map + hyb_cuda_experts_map_bytes(job.n_pairs, job.n_expert);
    job.x = job.order + hyb_cuda_experts_order_bytes(job.n_pairs, job.n_expert);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (j == i) hyb_cuda_experts_of_type(&job, i);
    }
}

/* ---- around them ------------------------------------------------------------------------------------------------- */

static void hyb_cuda_op_route(hyb_cuda_at *at, const hyb_op_route *op)
{
    hyb_op_route o = *op;
    int32_t kind = op->kind == HYB_ROUTE_SIGMOID, norm = op->norm;
    void *args[8];
    args[0] = &o.logits;
    args[1] = &o.n_expert;
    args[2] = &o.n_used;
    args[3] = &kind;
    args[4] = &norm;
    args[5] = &o.scale;
    args[6] = &o.ids;
    args[7] = &o.weights;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS, HYB_KERNEL_route, op->n, 1, 1,
                     (unsigned)hyb_div_up(op->n_expert, 32) * 32, 1, 0, args);
}

static void hyb_cuda_op_combine(hyb_cuda_at *at, const hyb_op_combine *op)
{
    const bool by_4 =
        hyb_cuda_by_4(op->x, op->n_embd) && hyb_cuda_by_4(op->add, op->n_embd) && hyb_cuda_by_4(op->out, op->n_embd);
    hyb_op_combine o = *op;
    int32_t n = (int32_t)op->n_embd;
    void *args[6];
    args[0] = &o.x;
    args[1] = &o.weights;
    args[2] = &o.n_used;
    args[3] = &n;
    args[4] = &o.add;
    args[5] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_combine_4 : HYB_KERNEL_combine_1,
                     hyb_div_up(n, by_4 ? 1024 : 256), op->n, 1, 256, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* ---- the way back ------------------------------------------------------------------------------------------------ */

static void hyb_cuda_op_route_back(hyb_cuda_at *at, const hyb_op_route_back *op)
{
    hyb_op_route_back o = *op;
    int32_t kind = op->kind == HYB_ROUTE_SIGMOID, norm = op->norm;
    void *args[9];
    args[0] = &o.logits;
    args[1] = &o.n_expert;
    args[2] = &o.n_used;
    args[3] = &kind;
    args[4] = &norm;
    args[5] = &o.scale;
    args[6] = &o.ids;
    args[7] = &o.dweights;
    args[8] = &o.dlogits;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_route_back, op->n, 1, 1,
                     (unsigned)hyb_div_up(op->n_expert, 32) * 32, 1, 0, args);
}

static void hyb_cuda_op_weigh(hyb_cuda_at *at, const hyb_op_weigh *op)
{
    hyb_op_weigh o = *op;
    int32_t n = (int32_t)op->n;
    void *args[9];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.y;
    args[3] = &o.y_stride;
    args[4] = &o.weights;
    args[5] = &n;
    args[6] = &o.dots;
    args[7] = &o.out;
    args[8] = &o.out_stride;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_weigh, op->n_rows, 1, 1, 256, 1, 0, args);
}

/* As in kernels/gemm_f32.cu. */
typedef struct hyb_cuda_experts_back_args {
    const float *x, *dy, *w;
    float *dx, *dw;
    const int32_t *order, *begin;
    int64_t x_stride, dy_stride;
    int32_t k, out, x_share, dy_share, expert0, n_expert, p0, p, add;
} hyb_cuda_experts_back_args;

/* Some rows, from p0 on, of w of some experts, from expert0 on, which lie at a->w. */
static void hyb_cuda_experts_back_x(hyb_cuda_at *at, hyb_cuda_experts_back_args *a, int64_t n_choices)
{
    const int64_t tiles = hyb_div_up(n_choices, 64) + HYB_MIN((int64_t)a->n_expert, n_choices);
    void *args[1];
    args[0] = a;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_GEMM_BACK, HYB_KERNEL_experts_back_x, tiles, hyb_div_up(a->k, 64), 1,
                     256, 1, 0, args);
}

/* dx = or += dy w: F32 from where it lies; of other types as many experts as the scratch holds as floats, or rows of
 * one. */
static void hyb_cuda_experts_back_dx(hyb_cuda_at *at, hyb_cuda_experts_back_args *a, const hyb_tensor *w,
                                     int64_t n_choices)
{
    const int64_t fit = hyb_cuda_decoded_rows(w, at->scratch_bytes), out = w->ne[1], n_expert = w->ne[2];
    const int64_t rows = HYB_MIN(fit, out), experts = HYB_MIN(HYB_MAX(fit / out, 1), n_expert);
    int64_t expert, row;
    a->n_expert = (int32_t)n_expert;
    a->p = (int32_t)out;
    a->w = (const float *)w->data;
    if (w->type == HYBRID_TYPE_F32) {
        hyb_cuda_experts_back_x(at, a, n_choices);
        return;
    }
    a->w = (const float *)(void *)at->scratch;
    for (expert = 0; expert < n_expert; expert += experts)
        for (row = 0; row < out; row += rows) {
            hyb_cuda_experts_back_args part = *a;
            part.expert0 = (int32_t)expert;
            part.n_expert = (int32_t)HYB_MIN(experts, n_expert - expert);
            part.p0 = (int32_t)row;
            part.p = (int32_t)HYB_MIN(rows, out - row);
            part.add = a->add || row;
            hyb_cuda_decode(at->q, w, expert * out + row, (int64_t)part.n_expert * part.p,
                            (float *)(void *)at->scratch);
            hyb_cuda_experts_back_x(at, &part, n_choices);
        }
}

static void hyb_cuda_experts_back_order(hyb_cuda_at *at, const hyb_op_experts_back *op, int32_t *begin, int32_t *order)
{
    const int32_t *ids = op->ids;
    int32_t n = op->n * op->n_used;
    void *args[4];
    args[0] = &ids;
    args[1] = &n;
    args[2] = &begin;
    args[3] = &order;
    hyb_cuda_grid(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_order_choices, op->out[0].w->ne[2], 1, 256, args);
}

static void hyb_cuda_experts_back_sum(hyb_cuda_at *at, const hyb_op_experts_back *op, const float *of_choices)
{
    hyb_op_experts_back o = *op;
    int32_t k = (int32_t)op->out[0].w->ne[0];
    void *args[5];
    args[0] = &of_choices;
    args[1] = &o.n_used;
    args[2] = &k;
    args[3] = &o.add;
    args[4] = &o.dx;
    hyb_cuda_grid(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_sum_choices, hyb_div_up(k, 256), op->n, 256, args);
}

/* Works in op->work: the order of the choices, where those of each expert begin, and dx of choices that a row sums. */
static void hyb_cuda_op_experts_back(hyb_cuda_at *at, const hyb_op_experts_back *op)
{
    const int64_t n_choices = (int64_t)op->n * op->n_used, n_expert = op->out[0].w->ne[2];
    int32_t *order = (int32_t *)(void *)op->work, *begin = order + n_choices;
    hyb_cuda_experts_back_args a;
    void *args[1];
    int i;
    if (op->n < 1) return;
    memset(&a, 0, sizeof a);
    a.x = op->x;
    a.x_stride = op->x_stride;
    a.x_share = op->x_each ? 1 : op->n_used;
    a.dy_share = op->dy_each ? 1 : op->n_used;
    a.k = (int32_t)op->out[0].w->ne[0];
    a.order = order;
    a.begin = begin;
    a.dx = op->dx_each ? op->dx : op->work + n_choices + n_expert + 1;
    args[0] = &a;
    hyb_cuda_experts_back_order(at, op, begin, order);
    for (i = 0; i < op->n_out; i++) {
        a.dy = op->out[i].dy;
        a.dy_stride = op->out[i].dy_stride;
        a.out = (int32_t)op->out[i].w->ne[1];
        a.dw = op->out[i].dw;
        a.add = i > 0;
        if (a.dw)
            hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_GEMM_BACK, HYB_KERNEL_experts_back_w, hyb_div_up(a.out, 64),
                             hyb_div_up(a.k, 64), n_expert, 256, 1, 0, args);
        hyb_cuda_experts_back_dx(at, &a, op->out[i].w, n_choices);
    }
    if (!op->dx_each) hyb_cuda_experts_back_sum(at, op, a.dx);
}
#endif
#endif
