/* cuda/ops_matmul: the op matmul: which kernels a product takes.
 *
 *   quantized, 1 row        matvec straight from the blocks of the file, with x quantized to 8
 *                           bits by every block of threads (once before, when it is long): integer products (dot4)
 *   quantized, 2-64 rows    the same bytes by integer tensor cores (matbatch): W is still what is read most
 *   floats, 1-8 rows        matvec, float32 products
 *   F32, more               float32 throughout
 *   BF16, more              from sm_80: x as bf16, tensor cores
 *   other, more             W as halves (F16: as it lies in the file; others: made in slices in
 *                           the scratch), x as halves, tensor cores. Halves because they have three bits more than
 *                           bf16, and no block format spans more than a half holds. |x| > 65504 is clamped; the hidden
 *                           states that are that large in some models go through a norm before a product.
 *
 * x is quantized once for all matrices of the op; in the first three, matrices of one type go in one launch.
 * Tensor-core products of floats are cuBLAS's where it is there, else ours. Nothing depends on what is in device
 * memory, so all of it can be captured in a graph. */
#ifndef HYB_CUDA_OPS_MATMUL_C
#define HYB_CUDA_OPS_MATMUL_C
#include "../compute/op.c"
#include "gemm.c"
#include "ops_rows.c"

enum {
    HYB_CUDA_FEW_FLOATS = 8, /* rows of x up to which the weights are read from where they lie */
    HYB_CUDA_FEW_QUANTS = 64,
    HYB_CUDA_NEAR_K = 8192,    /* values of x that a block quantizes for itself: 11 KB of shared memory */
    HYB_CUDA_MATVEC_WARPS = 4, /* matvec.cu: WARPS, ROWS */
    HYB_CUDA_MATVEC_ROWS = 2,
    HYB_CUDA_MATBATCH_ROWS = 16, /* matbatch.cu: rows of W of a block */
    HYB_CUDA_SLICE = 64 << 20    /* at most this many bytes of W are there as halves at a time */
};
#define HYB_CUDA_KERNELS_QUANTIZE(X) \
    X(quantize) X(quantize_tiles) X(to_half) X(to_bf16) X(begin_bias) X(quantize_sorted)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_QUANTIZE(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_QUANTIZE };
#undef HYB_KERNEL_NUMBER
enum { HYB_KERNEL_GEMM_128, HYB_KERNEL_GEMM_32 };

/* What the kernels take: the structures of matvec.cu, matbatch.cu and gemm.cu. */
typedef struct hyb_cuda_matrix {
    const void *w;
    const float *bias, *add; /* or NULL */
    float *y;
    int64_t add_stride, y_stride, next; /* next: bytes to the next expert's w */
    int rows;
} hyb_cuda_matrix;
typedef struct hyb_cuda_matrices {
    hyb_cuda_matrix m[4];
    int n;
} hyb_cuda_matrices;
typedef struct hyb_cuda_operand {
    int k, n;
    int64_t row_bytes;
    const void *x;
    int64_t x_stride;
    const float *d, *s;
} hyb_cuda_operand;
typedef struct hyb_cuda_tiles {
    int k, n;
    int64_t row_bytes;
    const void *q;
    const float *d, *s;
} hyb_cuda_tiles;
typedef struct hyb_cuda_product {
    const void *x;
    int64_t ldx;
    const void *w;
    int64_t ldw;
    int n, out, k;
    const float *bias, *add; /* or NULL */
    float *y;
    int64_t add_stride, y_stride;
    int64_t next; /* values to the next expert's w */
} hyb_cuda_product;

/* The form of x that the scratch holds; the matrices of an op may need different ones. */
typedef enum hyb_cuda_x { HYB_CUDA_X_NOTHING, HYB_CUDA_X_Q8, HYB_CUDA_X_HALF, HYB_CUDA_X_BF16 } hyb_cuda_x;

typedef struct hyb_cuda_matmul_job {
    hyb_cuda_queue *q;
    const hyb_op_matmul *op;
    int n;
    int64_t k, k_pad; /* k, rounded up to 8 */
    char *x;          /* scratch: x in the form that `form` says, */
    hyb_cuda_x form;
    char *w; /* then a slice of W */
    size_t w_bytes;
} hyb_cuda_matmul_job;

static int64_t hyb_cuda_pad(int64_t k) { return (k + 7) / 8 * 8; }

static bool hyb_cuda_is_float(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_F16 || type == HYBRID_TYPE_BF16;
}
static bool hyb_cuda_is_few(hybrid_type type, int n)
{
    return n <= (hyb_cuda_is_float(type) ? (int)HYB_CUDA_FEW_FLOATS : (int)HYB_CUDA_FEW_QUANTS);
}

/* Rows of x as bytes: matbatch takes them by eight. */
static int hyb_cuda_q8_rows(int n) { return n == 1 ? 1 : (HYB_MIN(n, (int)HYB_CUDA_FEW_QUANTS) + 7) / 8 * 8; }

/* Bytes of n rows of x in the scratch: signed bytes, scales and sums of quantize.cu, or 16-bit floats. */
static size_t hyb_cuda_x_bytes(int n, int64_t k)
{
    size_t k_pad = (size_t)hyb_cuda_pad(k), rows = (size_t)hyb_cuda_q8_rows(n);
    size_t q8 = rows * (k_pad + k_pad / 32 * 4 + k_pad / 16 * 4),
           half = n > HYB_CUDA_FEW_FLOATS ? (size_t)n * k_pad * 2 : 0;
    return hyb_align(HYB_MAX(q8, half), 256);
}

/* F16 and BF16 matrices with aligned rows go to the tensor cores as they lie in the file, the latter where there is
 * bf16. */
static bool hyb_cuda_is_bf16(hybrid_type type, int64_t k, int cc)
{
    return type == HYBRID_TYPE_BF16 && cc >= 80 && k % 8 == 0;
}
static bool hyb_cuda_as_it_is(hybrid_type type, int64_t k, int cc)
{
    return hyb_cuda_is_bf16(type, k, cc) || (type == HYBRID_TYPE_F16 && k % 8 == 0);
}

/* Bytes of scratch that a product of up to n rows with a matrix (out, k) needs on a device of capability cc (90 for
 * 9.0). The scratch of a model is the largest of its matrices'; matmul never touches more than it was given. */
static size_t hyb_cuda_matmul_scratch(hybrid_type type, int64_t k, int64_t out, int n, int cc)
{
    size_t x = hyb_cuda_x_bytes(n, k), row = (size_t)hyb_cuda_pad(k) * 2;
    if (hyb_cuda_is_few(type, n) || type == HYBRID_TYPE_F32 || hyb_cuda_as_it_is(type, k, cc)) return x;
    if ((size_t)out <= HYB_CUDA_SLICE / row) return x + (size_t)out * row;
    return x + HYB_MAX((size_t)HYB_CUDA_SLICE / row, 1) * row;
}

/* The module of a type, in a family of modules that has one for each type of a list, in its order. */
#define HYB_MODULE_OF_TYPE(name, number, values, bytes, suffix) \
    if (type == HYBRID_TYPE_##name) \
        return module; \
    else \
        module++;
static int hyb_cuda_module_of(int first, hybrid_type type)
{
    int module = first;
    HYB_TYPES(HYB_MODULE_OF_TYPE) return module;
}
static int hyb_cuda_module_of_float(int first, hybrid_type type)
{
    int module = first;
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE) return module;
}
static int hyb_cuda_module_of_quant(int first, hybrid_type type)
{
    int module = first;
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE) return module;
}
#undef HYB_MODULE_OF_TYPE

/* ---- x ----------------------------------------------------------------------------------------------------------- */

/* As bytes: first these, then rows * k / 16 sums (an even number, they are read in pairs), then rows * k / 32
 * scales. */
static float *hyb_cuda_matmul_sums(const hyb_cuda_matmul_job *job)
{
    return (float *)(void *)(job->x + (size_t)hyb_cuda_q8_rows(job->n) * (size_t)job->k);
}
static float *hyb_cuda_matmul_scales(const hyb_cuda_matmul_job *job)
{
    return hyb_cuda_matmul_sums(job) + hyb_cuda_q8_rows(job->n) * (job->k / 16);
}

static void hyb_cuda_matmul_x(hyb_cuda_matmul_job *job, hyb_cuda_x form)
{
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    if (job->form == form) return;
    job->form = form;
    if (form == HYB_CUDA_X_Q8) {
        int rows = hyb_cuda_q8_rows(job->n);
        float *d = hyb_cuda_matmul_scales(job), *s = hyb_cuda_matmul_sums(job);
        void *one[6], *many[7];
        one[0] = many[0] = &x;
        one[1] = many[1] = &x_stride;
        one[2] = many[2] = &k;
        many[3] = &job->n;
        one[3] = many[4] = &job->x;
        one[4] = many[5] = &d;
        one[5] = many[6] = &s;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, rows == 1 ? HYB_KERNEL_quantize : HYB_KERNEL_quantize_tiles,
                      (k + 255) / 256, rows, 256, rows == 1 ? one : many);
    } else {
        void *args[5];
        args[0] = &x;
        args[1] = &x_stride;
        args[2] = &k;
        args[3] = &job->x;
        args[4] = &k_pad;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, form == HYB_CUDA_X_HALF ? HYB_KERNEL_to_half : HYB_KERNEL_to_bf16,
                      (k_pad + 255) / 256, job->n, 256, args);
    }
}

/* ---- few rows ---------------------------------------------------------------------------------------------------- */

/* Blocks of a launch over all matrices: rows_a_block rows of one matrix each. */
static int64_t hyb_cuda_matmul_blocks(const hyb_cuda_matrices *ms, int rows_a_block)
{
    int64_t blocks = 0;
    int i;
    for (i = 0; i < ms->n; i++) blocks += (ms->m[i].rows + rows_a_block - 1) / rows_a_block;
    return blocks;
}

static void hyb_cuda_matvec(hyb_cuda_matmul_job *job, hybrid_type type, hyb_cuda_matrices *ms, int64_t row_bytes)
{
    hyb_cuda_operand o;
    int64_t groups = hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATVEC_ROWS),
            blocks = (groups + HYB_CUDA_MATVEC_WARPS - 1) / HYB_CUDA_MATVEC_WARPS;
    /* every warp the same number of groups, or one less */
    int64_t most = (int64_t)HYB_MAX(job->q->cu->n_sm, 1) * 8, turns = (blocks + most - 1) / most;
    int n = job->n, module = n == 1 ? hyb_cuda_module_of(HYB_MODULE_MATVEC_F32, type)
                                    : hyb_cuda_module_of_float(HYB_MODULE_MATVEC_FEW_F32, type);
    bool quantized = !hyb_cuda_is_float(type), near_x = quantized && job->k <= HYB_CUDA_NEAR_K;
    unsigned grid[3], block[3];
    void *args[2];
    o.k = (int)job->k;
    o.n = n;
    o.row_bytes = row_bytes;
    if (!quantized || near_x) {
        o.x = job->op->x;
        o.x_stride = job->op->x_stride;
        o.d = o.s = NULL;
    } else {
        hyb_cuda_matmul_x(job, HYB_CUDA_X_Q8);
        module = hyb_cuda_module_of_quant(HYB_MODULE_MATVEC_FAR_Q4_0, type);
        o.x = job->x;
        o.x_stride = job->k;
        o.d = hyb_cuda_matmul_scales(job);
        o.s = hyb_cuda_matmul_sums(job);
    }
    args[0] = ms;
    args[1] = &o;
    grid[0] = (unsigned)((blocks + turns - 1) / turns);
    grid[1] = grid[2] = 1;
    block[0] = 32 * HYB_CUDA_MATVEC_WARPS;
    block[1] = block[2] = 1;
    hyb_cuda_launch(job->q, module,
                    n <= 2   ? 0
                    : n <= 4 ? 1
                             : 2,
                    grid, block, near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hyb_cuda_matbatch(hyb_cuda_matmul_job *job, hybrid_type type, hyb_cuda_matrices *ms, int64_t row_bytes)
{
    hyb_cuda_tiles x;
    int first = job->n <= 8    ? HYB_MODULE_MATBATCH_8_Q4_0
                : job->n <= 32 ? HYB_MODULE_MATBATCH_32_Q4_0
                               : HYB_MODULE_MATBATCH_64_Q4_0;
    void *args[2];
    hyb_cuda_matmul_x(job, HYB_CUDA_X_Q8);
    x.k = (int)job->k;
    x.n = job->n;
    x.row_bytes = row_bytes;
    x.q = job->x;
    x.d = hyb_cuda_matmul_scales(job);
    x.s = hyb_cuda_matmul_sums(job);
    args[0] = ms;
    args[1] = &x;
    hyb_cuda_grid(job->q, hyb_cuda_module_of_quant(first, type), 0, hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATBATCH_ROWS),
                  1, 128, args);
}

/* The matrices of the op that have the type of matrix `first` (and come after it). */
static void hyb_cuda_matmul_few(hyb_cuda_matmul_job *job, int first)
{
    const hyb_tensor *w = job->op->out[first].w;
    hyb_cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < job->op->n_out; i++) {
        const hyb_matmul_out *out = &job->op->out[i];
        hyb_cuda_matrix *m = &ms.m[ms.n];
        if (out->w->type != w->type || out->w->ne[1] < 1) continue;
        m->w = out->w->data;
        m->bias = out->bias;
        m->add = out->add;
        m->add_stride = out->add_stride;
        m->y = out->y;
        m->y_stride = out->y_stride;
        m->rows = (int)out->w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (hyb_cuda_is_float(w->type) || job->n == 1)
        hyb_cuda_matvec(job, w->type, &ms, (int64_t)w->nb[1]);
    else
        hyb_cuda_matbatch(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* ---- many rows --------------------------------------------------------------------------------------------------- */

/* y = what a product by cuBLAS is added to. */
static void hyb_cuda_before(hyb_cuda_queue *q, const hyb_cuda_product *p)
{
    hyb_cuda_product copy = *p;
    void *args[6];
    args[0] = &copy.bias;
    args[1] = &copy.add;
    args[2] = &copy.add_stride;
    args[3] = &copy.y;
    args[4] = &copy.y_stride;
    args[5] = &copy.out;
    hyb_cuda_grid(q, HYB_MODULE_QUANTIZE, HYB_KERNEL_begin_bias, (p->out + 255) / 256, p->n, 256, args);
}

/* Whether cuBLAS is there, and multiplies values of 16 bits of that kind on this GPU. */
static bool hyb_cuda_blas_has(hyb_cuda_queue *q, bool bf16)
{
    return (!bf16 || q->cu->cc >= 80) && hyb_cuda_queue_blas(q, NULL);
}

static void hyb_cuda_tensor_cores(hyb_cuda_queue *q, bool bf16, hyb_cuda_product *p)
{
    void *args[1];
    bool wide = p->n > 64;
    if (hyb_cuda_blas_has(q, bf16)) {
        if (p->bias || (p->add && p->add != p->y)) hyb_cuda_before(q, p);
        hyb_cuda_gemm(q, bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, p->w, (int)p->ldw, p->x, (int)p->ldx, HYB_CUDA_R_32F,
                      p->y, (int)p->y_stride, p->n, p->out, p->k, p->bias != NULL || p->add != NULL);
        return;
    }
    args[0] = p;
    hyb_cuda_grid(q, bf16 ? HYB_MODULE_GEMM_BF16 : HYB_MODULE_GEMM_F16, wide ? HYB_KERNEL_GEMM_128 : HYB_KERNEL_GEMM_32,
                  (p->n + (wide ? 127 : 31)) / (wide ? 128 : 32), (p->out + 127) / 128, 256, args);
}

/* in_chunks: by cuBLAS, whose order of a sum may depend on how many rows there are. */
static void hyb_cuda_matmul_f32(hyb_cuda_queue *q, hyb_cuda_product *p, bool in_chunks)
{
    void *args[1];
    if (in_chunks && hyb_cuda_queue_blas(q, NULL)) {
        if (p->bias || (p->add && p->add != p->y)) hyb_cuda_before(q, p);
        hyb_cuda_gemm(q, HYB_CUDA_R_32F, p->w, (int)p->ldw, p->x, (int)p->ldx, HYB_CUDA_R_32F, p->y, (int)p->y_stride,
                      p->n, p->out, p->k, p->bias != NULL || p->add != NULL);
        return;
    }
    args[0] = p;
    hyb_cuda_grid(q, HYB_MODULE_GEMM_F32, 0, (p->n + 63) / 64, (p->out + 63) / 64, 256, args);
}

/* Rows of w, from `first`, as halves at job->w. */
static void hyb_cuda_dequantize(hyb_cuda_matmul_job *job, const hyb_tensor *w, int64_t first, int rows)
{
    const char *from = (const char *)w->data + (size_t)first * w->nb[1];
    int64_t row_bytes = (int64_t)w->nb[1], threads = (hyb_cuda_is_float(w->type) ? job->k_pad / 8 : job->k / 32) * rows;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    void *args[6];
    args[0] = &from;
    args[1] = &row_bytes;
    args[2] = &rows;
    args[3] = &k;
    args[4] = &job->w;
    args[5] = &k_pad;
    hyb_cuda_grid(job->q, hyb_cuda_module_of(HYB_MODULE_DEQUANTIZE_F32, w->type), 0, (threads + 255) / 256, 1, 256,
                  args);
}

/* Rows of w, from `first`, as floats at `to`: the kernel of the op embed, without an index. */
static void hyb_cuda_decode(hyb_cuda_queue *q, const hyb_tensor *w, int64_t first, int64_t rows, float *to)
{
    const char *from = (const char *)w->data + (size_t)first * w->nb[1];
    int64_t row_bytes = (int64_t)w->nb[1];
    const int32_t *index = NULL;
    const float *add = NULL;
    int32_t k = (int32_t)w->ne[0];
    float scale = 1;
    void *args[7];
    args[0] = &from;
    args[1] = &row_bytes;
    args[2] = &index;
    args[3] = &k;
    args[4] = &scale;
    args[5] = &add;
    args[6] = &to;
    hyb_cuda_grid(q, hyb_cuda_embed_module((int)w->type), 0,
                  hyb_div_up(k, hybrid_type_block_size(w->type) > 1 ? 32 * 64 : 256), rows, 64, args);
}

/* Rows of w that fit into so many bytes as floats, of those that a grid has. */
static int64_t hyb_cuda_decoded_rows(const hyb_tensor *w, size_t bytes)
{
    return HYB_MAX(HYB_MIN((int64_t)(bytes / (sizeof(float) * (size_t)w->ne[0])), 65535), 1);
}

/* A frozen matrix of a pass that is trained on, as floats, some rows at a time: y is what its gradient is about. */
static void hyb_cuda_matmul_decoded(hyb_cuda_queue *q, const hyb_op_matmul *op, const hyb_matmul_out *out,
                                    void *scratch, size_t scratch_bytes)
{
    const hyb_tensor *w = out->w;
    const int64_t slice = hyb_cuda_decoded_rows(w, scratch_bytes);
    hyb_cuda_product p;
    int64_t first;
    p.x = op->x;
    p.ldx = op->x_stride;
    p.w = scratch;
    p.ldw = w->ne[0];
    p.n = op->n;
    p.k = (int)w->ne[0];
    p.add_stride = out->add_stride;
    p.y_stride = out->y_stride;
    p.next = 0;
    for (first = 0; first < w->ne[1]; first += slice) {
        p.out = (int)HYB_MIN(slice, w->ne[1] - first);
        p.bias = out->bias ? out->bias + first : NULL;
        p.add = out->add ? out->add + first : NULL;
        p.y = out->y + first;
        hyb_cuda_decode(q, w, first, p.out, (float *)scratch);
        hyb_cuda_matmul_f32(q, &p, true);
    }
}

static void hyb_cuda_matmul_many(hyb_cuda_matmul_job *job, const hyb_matmul_out *out)
{
    const hyb_tensor *w = out->w;
    hyb_cuda_product p;
    int cc = job->q->cu->cc;
    bool bf16 = hyb_cuda_is_bf16(w->type, job->k, cc), as_it_is = hyb_cuda_as_it_is(w->type, job->k, cc);
    int64_t rows = w->ne[1], first, slice = as_it_is ? rows : (int64_t)(job->w_bytes / ((size_t)job->k_pad * 2));
    p.n = job->n;
    p.k = (int)job->k;
    p.add = out->add;
    p.add_stride = out->add_stride;
    p.y_stride = out->y_stride;
    p.next = 0;
    if (w->type == HYBRID_TYPE_F32) {
        p.x = job->op->x;
        p.ldx = job->op->x_stride;
        p.w = w->data;
        p.ldw = job->k;
        p.out = (int)rows;
        p.bias = out->bias;
        p.y = out->y;
        hyb_cuda_matmul_f32(job->q, &p, job->op->in_chunks);
        return;
    }
    hyb_cuda_matmul_x(job, bf16 ? HYB_CUDA_X_BF16 : HYB_CUDA_X_HALF);
    p.k = (int)job->k_pad;
    p.x = job->x;
    p.ldx = p.ldw = job->k_pad;
    if (slice >= 128 && slice < rows) slice = slice / 128 * 128; /* whole tiles */
    slice = HYB_MAX(slice, 1);
    for (first = 0; first < rows; first += slice) {
        p.out = (int)HYB_MIN(slice, rows - first);
        p.bias = out->bias ? out->bias + first : NULL;
        p.add = out->add ? out->add + first : NULL;
        p.y = out->y + first;
        p.w = as_it_is ? w->data : (const void *)job->w;
        if (!as_it_is) hyb_cuda_dequantize(job, w, first, p.out);
        hyb_cuda_tensor_cores(job->q, bf16, &p);
    }
}

/* scratch: as many bytes of device memory as hyb_cuda_matmul_scratch says for this model; nothing in it outlives the
 * call. */
static void hyb_cuda_matmul(hyb_cuda_queue *q, const hyb_op_matmul *op, void *scratch, size_t scratch_bytes)
{
    hyb_cuda_matmul_job job;
    size_t x_bytes;
    int i, j;
    if (op->n < 1 || op->n_out < 1) return;
    memset(&job, 0, sizeof job);
    job.q = q;
    job.op = op;
    job.n = op->n;
    job.k = op->out[0].w->ne[0];
    job.k_pad = hyb_cuda_pad(job.k);
    x_bytes = hyb_cuda_x_bytes(job.n, job.k);
    job.x = (char *)scratch;
    job.w = job.x + x_bytes;
    job.w_bytes = scratch_bytes - HYB_MIN(x_bytes, scratch_bytes);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (op->in_chunks && op->out[i].w->type != HYBRID_TYPE_F32)
            hyb_cuda_matmul_decoded(q, op, &op->out[i], scratch, scratch_bytes);
        else if (!hyb_cuda_is_few(op->out[i].w->type, op->n))
            hyb_cuda_matmul_many(&job, &op->out[i]);
        else if (j == i)
            hyb_cuda_matmul_few(&job, i);
    }
}
#endif
