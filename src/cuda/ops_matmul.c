/* cuda/ops_matmul: the op matmul: which kernels a product takes.
 *
 *   quantized, 1 row        matvec straight from the blocks of the file, with x quantized to 8 bits by every block of threads (once before, when it is
 *                           long): integer products (dot4)
 *   quantized, 2-64 rows    the same bytes by integer tensor cores (matbatch): W is still what is read most
 *   floats, 1-8 rows        matvec, float32 products
 *   F32, more               float32 throughout
 *   BF16, more              from sm_80: x as bf16, tensor cores
 *   other, more             W as halves (F16: as it lies in the file; others: made in slices in the scratch), x as halves, tensor cores. Halves because they
 *                           have three bits more than bf16, and no block format spans more than a half holds. |x| > 65504 is clamped; the hidden states that
 *                           are that large in some models go through a norm before a product.
 *
 * x is quantized once for all matrices of the op; in the first three, matrices of one type go in one launch. Tensor-core products of floats are cuBLAS's
 * where it is there, else ours. Nothing depends on what is in device memory, so all of it can be captured in a graph. */

enum {
    HYBRID__CUDA_FEW_FLOATS = 8,            /* rows of x up to which the weights are read from where they lie */
    HYBRID__CUDA_FEW_QUANTS = 64,
    HYBRID__CUDA_NEAR_K = 8192,             /* values of x that a block quantizes for itself: 11 KB of shared memory */
    HYBRID__CUDA_MATVEC_WARPS = 4,          /* matvec.cu: WARPS, ROWS */
    HYBRID__CUDA_MATVEC_ROWS = 2,
    HYBRID__CUDA_MATBATCH_ROWS = 16,        /* matbatch.cu: rows of W of a block */
    HYBRID__CUDA_SLICE = 64 << 20           /* at most this many bytes of W are there as halves at a time */
};
#define HYBRID__CUDA_KERNELS_QUANTIZE(X) X(quantize) X(quantize_tiles) X(to_half) X(to_bf16) X(begin_bias) X(quantize_sorted)
#define HYBRID__KERNEL_NUMBER(name_) HYBRID__KERNEL_##name_,
enum { HYBRID__CUDA_KERNELS_QUANTIZE(HYBRID__KERNEL_NUMBER) HYBRID__KERNELS_OF_QUANTIZE };
#undef HYBRID__KERNEL_NUMBER
enum { HYBRID__KERNEL_GEMM_128, HYBRID__KERNEL_GEMM_32 };

/* What the kernels take: the structures of matvec.cu, matbatch.cu and gemm.cu. */
typedef struct hybrid__cuda_matrix {
    const void *w;
    const float *bias, *add;                /* or NULL */
    float *y;
    int64_t add_stride, y_stride, next;     /* next: bytes to the next expert's w */
    int rows;
} hybrid__cuda_matrix;
typedef struct hybrid__cuda_matrices { hybrid__cuda_matrix m[4]; int n; } hybrid__cuda_matrices;
typedef struct hybrid__cuda_operand { int k, n; int64_t row_bytes; const void *x; int64_t x_stride; const float *d, *s; } hybrid__cuda_operand;
typedef struct hybrid__cuda_tiles { int k, n; int64_t row_bytes; const void *q; const float *d, *s; } hybrid__cuda_tiles;
typedef struct hybrid__cuda_product {
    const void *x; int64_t ldx;
    const void *w; int64_t ldw;
    int n, out, k;
    const float *bias, *add;                /* or NULL */
    float *y; int64_t add_stride, y_stride;
    int64_t next;                           /* values to the next expert's w */
} hybrid__cuda_product;

/* What the scratch holds of x; the matrices of an op may ask for different things. */
typedef enum hybrid__cuda_x { HYBRID__CUDA_X_NOTHING, HYBRID__CUDA_X_Q8, HYBRID__CUDA_X_HALF, HYBRID__CUDA_X_BF16 } hybrid__cuda_x;

typedef struct hybrid__cuda_matmul_job {
    hybrid__cuda_queue *q;
    const hybrid__op_matmul *op;
    int     n;
    int64_t k, k_pad;                       /* k, rounded up to 8 */
    char   *x;                              /* scratch: x in the form that `form` says, */
    hybrid__cuda_x form;
    char   *w;                              /* then a slice of W */
    size_t  w_bytes;
} hybrid__cuda_matmul_job;

static int64_t hybrid__cuda_pad(int64_t k) { return (k + 7) / 8 * 8; }

static bool hybrid__cuda_is_float(hybrid_type type) { return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_F16 || type == HYBRID_TYPE_BF16; }
static bool hybrid__cuda_is_few(hybrid_type type, int n) { return n <= (hybrid__cuda_is_float(type) ? (int)HYBRID__CUDA_FEW_FLOATS : (int)HYBRID__CUDA_FEW_QUANTS); }

/* Rows of x as bytes: matbatch takes them by eight. */
static int hybrid__cuda_q8_rows(int n) { return n == 1 ? 1 : (HYBRID__MIN(n, (int)HYBRID__CUDA_FEW_QUANTS) + 7) / 8 * 8; }

/* Bytes of n rows of x in the scratch: signed bytes, scales and sums of quantize.cu, or 16-bit floats. */
static size_t hybrid__cuda_x_bytes(int n, int64_t k)
{
    size_t k_pad = (size_t)hybrid__cuda_pad(k), rows = (size_t)hybrid__cuda_q8_rows(n);
    size_t q8 = rows * (k_pad + k_pad / 32 * 4 + k_pad / 16 * 4), half = n > HYBRID__CUDA_FEW_FLOATS ? (size_t)n * k_pad * 2 : 0;
    return hybrid__align(HYBRID__MAX(q8, half), 256);
}

/* F16 and BF16 matrices with aligned rows go to the tensor cores as they lie in the file, the latter where there is bf16. */
static bool hybrid__cuda_is_bf16(hybrid_type type, int64_t k, int cc) { return type == HYBRID_TYPE_BF16 && cc >= 80 && k % 8 == 0; }
static bool hybrid__cuda_as_it_is(hybrid_type type, int64_t k, int cc) { return hybrid__cuda_is_bf16(type, k, cc) || (type == HYBRID_TYPE_F16 && k % 8 == 0); }

/* Bytes of scratch that a product of up to n rows with a matrix (out, k) needs on a device of capability cc (90 for 9.0). The scratch of a model is the
 * largest of its matrices'; matmul never touches more than it was given. */
static size_t hybrid__cuda_matmul_scratch(hybrid_type type, int64_t k, int64_t out, int n, int cc)
{
    size_t x = hybrid__cuda_x_bytes(n, k), row = (size_t)hybrid__cuda_pad(k) * 2;
    if (hybrid__cuda_is_few(type, n) || type == HYBRID_TYPE_F32 || hybrid__cuda_as_it_is(type, k, cc)) return x;
    if ((size_t)out <= HYBRID__CUDA_SLICE / row) return x + (size_t)out * row;
    return x + HYBRID__MAX((size_t)HYBRID__CUDA_SLICE / row, 1) * row;
}

/* The module of a type, in a family of modules that has one for each type of a list, in its order. */
#define HYBRID__MODULE_OF_TYPE(name, number) if (type == HYBRID_TYPE_##name) return module; else module++;
static int hybrid__cuda_module_of(int first, hybrid_type type) { int module = first; HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE) return module; }
static int hybrid__cuda_module_of_float(int first, hybrid_type type) { int module = first; HYBRID__CUDA_FLOATS(HYBRID__MODULE_OF_TYPE) return module; }
static int hybrid__cuda_module_of_quant(int first, hybrid_type type) { int module = first; HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE) return module; }
#undef HYBRID__MODULE_OF_TYPE

/* ---- x ---- */

/* As bytes: first these, then rows * k / 16 sums (an even number, they are read in pairs), then rows * k / 32 scales. */
static float *hybrid__cuda_matmul_sums(const hybrid__cuda_matmul_job *job)
{
    return (float *)(void *)(job->x + (size_t)hybrid__cuda_q8_rows(job->n) * (size_t)job->k);
}
static float *hybrid__cuda_matmul_scales(const hybrid__cuda_matmul_job *job)
{
    return hybrid__cuda_matmul_sums(job) + hybrid__cuda_q8_rows(job->n) * (job->k / 16);
}

static void hybrid__cuda_matmul_x(hybrid__cuda_matmul_job *job, hybrid__cuda_x form)
{
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    if (job->form == form) return;
    job->form = form;
    if (form == HYBRID__CUDA_X_Q8) {
        int rows = hybrid__cuda_q8_rows(job->n);
        float *d = hybrid__cuda_matmul_scales(job), *s = hybrid__cuda_matmul_sums(job);
        void *one[6], *many[7];
        one[0] = many[0] = &x; one[1] = many[1] = &x_stride; one[2] = many[2] = &k;
        many[3] = &job->n;
        one[3] = many[4] = &job->x; one[4] = many[5] = &d; one[5] = many[6] = &s;
        hybrid__cuda_grid(job->q, HYBRID__MODULE_QUANTIZE, rows == 1 ? HYBRID__KERNEL_quantize : HYBRID__KERNEL_quantize_tiles, (k + 255) / 256, rows, 256,
                          rows == 1 ? one : many);
    } else {
        void *args[5];
        args[0] = &x; args[1] = &x_stride; args[2] = &k; args[3] = &job->x; args[4] = &k_pad;
        hybrid__cuda_grid(job->q, HYBRID__MODULE_QUANTIZE, form == HYBRID__CUDA_X_HALF ? HYBRID__KERNEL_to_half : HYBRID__KERNEL_to_bf16,
                          (k_pad + 255) / 256, job->n, 256, args);
    }
}

/* ---- few rows ---- */

/* Blocks of a launch over all matrices: rows_a_block rows of one matrix each. */
static int64_t hybrid__cuda_matmul_blocks(const hybrid__cuda_matrices *ms, int rows_a_block)
{
    int64_t blocks = 0;
    int i;
    for (i = 0; i < ms->n; i++) blocks += (ms->m[i].rows + rows_a_block - 1) / rows_a_block;
    return blocks;
}

static void hybrid__cuda_matvec(hybrid__cuda_matmul_job *job, hybrid_type type, hybrid__cuda_matrices *ms, int64_t row_bytes)
{
    hybrid__cuda_operand o;
    int64_t groups = hybrid__cuda_matmul_blocks(ms, HYBRID__CUDA_MATVEC_ROWS), blocks = (groups + HYBRID__CUDA_MATVEC_WARPS - 1) / HYBRID__CUDA_MATVEC_WARPS;
    int64_t most = (int64_t)HYBRID__MAX(job->q->cu->n_sm, 1) * 8, turns = (blocks + most - 1) / most;         /* every warp the same number of groups, or one less */
    int n = job->n, module = n == 1 ? hybrid__cuda_module_of(HYBRID__MODULE_MATVEC_F32, type) : hybrid__cuda_module_of_float(HYBRID__MODULE_MATVEC_FEW_F32, type);
    bool quantized = !hybrid__cuda_is_float(type), near_x = quantized && job->k <= HYBRID__CUDA_NEAR_K;
    unsigned grid[3], block[3];
    void *args[2];
    o.k = (int)job->k; o.n = n; o.row_bytes = row_bytes;
    if (!quantized || near_x) {
        o.x = job->op->x; o.x_stride = job->op->x_stride;
        o.d = o.s = NULL;
    } else {
        hybrid__cuda_matmul_x(job, HYBRID__CUDA_X_Q8);
        module = hybrid__cuda_module_of_quant(HYBRID__MODULE_MATVEC_FAR_Q4_0, type);
        o.x = job->x; o.x_stride = job->k;
        o.d = hybrid__cuda_matmul_scales(job); o.s = hybrid__cuda_matmul_sums(job);
    }
    args[0] = ms; args[1] = &o;
    grid[0] = (unsigned)((blocks + turns - 1) / turns); grid[1] = grid[2] = 1;
    block[0] = 32 * HYBRID__CUDA_MATVEC_WARPS; block[1] = block[2] = 1;
    hybrid__cuda_launch(job->q, module, n <= 2 ? 0 : n <= 4 ? 1 : 2, grid, block, near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hybrid__cuda_matbatch(hybrid__cuda_matmul_job *job, hybrid_type type, hybrid__cuda_matrices *ms, int64_t row_bytes)
{
    hybrid__cuda_tiles x;
    int first = job->n <= 8 ? HYBRID__MODULE_MATBATCH_8_Q4_0 : job->n <= 32 ? HYBRID__MODULE_MATBATCH_32_Q4_0 : HYBRID__MODULE_MATBATCH_64_Q4_0;
    void *args[2];
    hybrid__cuda_matmul_x(job, HYBRID__CUDA_X_Q8);
    x.k = (int)job->k; x.n = job->n; x.row_bytes = row_bytes;
    x.q = job->x; x.d = hybrid__cuda_matmul_scales(job); x.s = hybrid__cuda_matmul_sums(job);
    args[0] = ms; args[1] = &x;
    hybrid__cuda_grid(job->q, hybrid__cuda_module_of_quant(first, type), 0, hybrid__cuda_matmul_blocks(ms, HYBRID__CUDA_MATBATCH_ROWS), 1, 128, args);
}

/* The matrices of the op that have the type of matrix `first` (and come behind it). */
static void hybrid__cuda_matmul_few(hybrid__cuda_matmul_job *job, int first)
{
    const hybrid__tensor *w = job->op->out[first].w;
    hybrid__cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < job->op->n_out; i++) {
        const hybrid__matmul_out *out = &job->op->out[i];
        hybrid__cuda_matrix *m = &ms.m[ms.n];
        if (out->w->type != w->type || out->w->ne[1] < 1) continue;
        m->w = out->w->data; m->bias = out->bias; m->add = out->add; m->add_stride = out->add_stride; m->y = out->y; m->y_stride = out->y_stride;
        m->rows = (int)out->w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (hybrid__cuda_is_float(w->type) || job->n == 1) hybrid__cuda_matvec(job, w->type, &ms, (int64_t)w->nb[1]);
    else hybrid__cuda_matbatch(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* ---- many rows ---- */

/* y = what a product by cuBLAS is added to. */
static void hybrid__cuda_before(hybrid__cuda_queue *q, const hybrid__cuda_product *p)
{
    hybrid__cuda_product copy = *p;
    void *args[6];
    args[0] = &copy.bias; args[1] = &copy.add; args[2] = &copy.add_stride; args[3] = &copy.y; args[4] = &copy.y_stride; args[5] = &copy.out;
    hybrid__cuda_grid(q, HYBRID__MODULE_QUANTIZE, HYBRID__KERNEL_begin_bias, (p->out + 255) / 256, p->n, 256, args);
}

static void hybrid__cuda_tensor_cores(hybrid__cuda_queue *q, bool bf16, hybrid__cuda_product *p)
{
    void *args[1];
    bool wide = p->n > 64;
    if (hybrid__cuda_queue_blas(q, NULL)) {
        if (p->bias || (p->add && p->add != p->y)) hybrid__cuda_before(q, p);
        hybrid__cuda_gemm(q, bf16 ? HYBRID__CUDA_R_16BF : HYBRID__CUDA_R_16F, p->w, (int)p->ldw, p->x, (int)p->ldx, HYBRID__CUDA_R_32F, p->y, (int)p->y_stride,
                          p->n, p->out, p->k, p->bias != NULL || p->add != NULL);
        return;
    }
    args[0] = p;
    hybrid__cuda_grid(q, bf16 ? HYBRID__MODULE_GEMM_BF16 : HYBRID__MODULE_GEMM_F16, wide ? HYBRID__KERNEL_GEMM_128 : HYBRID__KERNEL_GEMM_32,
                      (p->n + (wide ? 127 : 31)) / (wide ? 128 : 32), (p->out + 127) / 128, 256, args);
}

static void hybrid__cuda_matmul_f32(hybrid__cuda_queue *q, hybrid__cuda_product *p)
{
    void *args[1];
    args[0] = p;
    hybrid__cuda_grid(q, HYBRID__MODULE_GEMM_F32, 0, (p->n + 63) / 64, (p->out + 63) / 64, 256, args);
}

/* Rows of w, from `first`, as halves at job->w. */
static void hybrid__cuda_dequantize(hybrid__cuda_matmul_job *job, const hybrid__tensor *w, int64_t first, int rows)
{
    const char *from = (const char *)w->data + (size_t)first * w->nb[1];
    int64_t row_bytes = (int64_t)w->nb[1], threads = (hybrid__cuda_is_float(w->type) ? job->k_pad / 8 : job->k / 32) * rows;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    void *args[6];
    args[0] = &from; args[1] = &row_bytes; args[2] = &rows; args[3] = &k; args[4] = &job->w; args[5] = &k_pad;
    hybrid__cuda_grid(job->q, hybrid__cuda_module_of(HYBRID__MODULE_DEQUANTIZE_F32, w->type), 0, (threads + 255) / 256, 1, 256, args);
}

static void hybrid__cuda_matmul_many(hybrid__cuda_matmul_job *job, const hybrid__matmul_out *out)
{
    const hybrid__tensor *w = out->w;
    hybrid__cuda_product p;
    int cc = job->q->cu->cc;
    bool bf16 = hybrid__cuda_is_bf16(w->type, job->k, cc), as_it_is = hybrid__cuda_as_it_is(w->type, job->k, cc);
    int64_t rows = w->ne[1], first, slice = as_it_is ? rows : (int64_t)(job->w_bytes / ((size_t)job->k_pad * 2));
    p.n = job->n; p.k = (int)job->k; p.add = out->add; p.add_stride = out->add_stride; p.y_stride = out->y_stride; p.next = 0;
    if (w->type == HYBRID_TYPE_F32) {
        p.x = job->op->x; p.ldx = job->op->x_stride; p.w = w->data; p.ldw = job->k;
        p.out = (int)rows; p.bias = out->bias; p.y = out->y;
        hybrid__cuda_matmul_f32(job->q, &p);
        return;
    }
    hybrid__cuda_matmul_x(job, bf16 ? HYBRID__CUDA_X_BF16 : HYBRID__CUDA_X_HALF);
    p.k = (int)job->k_pad;
    p.x = job->x; p.ldx = p.ldw = job->k_pad;
    if (slice >= 128 && slice < rows) slice = slice / 128 * 128;        /* whole tiles */
    slice = HYBRID__MAX(slice, 1);
    for (first = 0; first < rows; first += slice) {
        p.out = (int)HYBRID__MIN(slice, rows - first);
        p.bias = out->bias ? out->bias + first : NULL;
        p.add = out->add ? out->add + first : NULL;
        p.y = out->y + first;
        p.w = as_it_is ? w->data : (const void *)job->w;
        if (!as_it_is) hybrid__cuda_dequantize(job, w, first, p.out);
        hybrid__cuda_tensor_cores(job->q, bf16, &p);
    }
}

/* scratch: as many bytes of device memory as hybrid__cuda_matmul_scratch says for this model; nothing in it outlives the call. */
static void hybrid__cuda_matmul(hybrid__cuda_queue *q, const hybrid__op_matmul *op, void *scratch, size_t scratch_bytes)
{
    hybrid__cuda_matmul_job job;
    size_t x_bytes;
    int i, j;
    if (op->n < 1 || op->n_out < 1) return;
    memset(&job, 0, sizeof job);
    job.q = q; job.op = op; job.n = op->n;
    job.k = op->out[0].w->ne[0]; job.k_pad = hybrid__cuda_pad(job.k);
    x_bytes = hybrid__cuda_x_bytes(job.n, job.k);
    job.x = (char *)scratch; job.w = job.x + x_bytes;
    job.w_bytes = scratch_bytes - HYBRID__MIN(x_bytes, scratch_bytes);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (!hybrid__cuda_is_few(op->out[i].w->type, op->n)) hybrid__cuda_matmul_many(&job, &op->out[i]);
        else if (j == i) hybrid__cuda_matmul_few(&job, i);
    }
}

static void hybrid__cuda_op_matmul(hybrid__cuda_at *at, const hybrid__op_matmul *op)
{
    if (hybrid__form_refused(op->form)) at->refused = hybrid__form_refused(op->form);
    else hybrid__cuda_matmul(at->q, op, at->scratch, at->scratch_bytes);
}
