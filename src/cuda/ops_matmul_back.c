/* cuda/ops_matmul_back: what training asks of products besides y = x W^T: the gradients of what they read and of their
 * weights, and all three in a number format of 16 bits (hyb_rounding), by tensor cores.
 *
 *                   cuBLAS reads                 own kernels, which know y = x w^T alone
 *     y = x W^T     x and W                      x and W
 *     dx = dy W     dy and W                     dy, and W turned
 *     dW = dy^T x   dy and x                     dy turned, and x turned
 *
 * What they read is rounded, into the scratch; W need not be, where it is there in the format already. Rows of W go in
 * slices, so that the scratch is not as large as a head. */
#ifndef HYB_CUDA_OPS_MATMUL_BACK_C
#define HYB_CUDA_OPS_MATMUL_BACK_C
#include "ops_matmul.c"

#ifdef HYBRID_NO_TRAIN
static void hyb_cuda_op_matmul(hyb_cuda_at *at, const hyb_op_matmul *op)
{
    hyb_cuda_matmul(at->q, op, at->scratch, at->scratch_bytes);
}
#else
/* ---- number formats ---------------------------------------------------------------------------------------------- */

/* Products of n rows and matrices (.., k) in a format. */
typedef struct hyb_cuda_format {
    hyb_cuda_queue *q;
    const hyb_rounding *rounding;
    bool bf16, blas;
    int n;
    int64_t k, n_pad, k_pad; /* rounded up to 8 */
    uint16_t *x;             /* scratch: (n, k_pad), or turned (k, n_pad); */
    uint16_t *dy, *w;        /* of a slice: (n, slice) or (slice, n_pad), and (slice, k_pad) or (k, slice) */
    int64_t slice;           /* rows of W, a multiple of 8 */
} hyb_cuda_format;

static size_t hyb_cuda_format_near(int64_t n, int64_t k)
{
    return hyb_align((size_t)hyb_cuda_pad(n) * (size_t)hyb_cuda_pad(k) * sizeof(uint16_t), 256);
}
/* Bytes that a row of W takes in a slice. */
static size_t hyb_cuda_format_row(int64_t n, int64_t k)
{
    return (size_t)(hyb_cuda_pad(n) + hyb_cuda_pad(k)) * sizeof(uint16_t);
}
enum { HYB_CUDA_FORMAT_ALIGN = 512 }; /* of dy and w */

/* Bytes of scratch of the three products of up to n rows with a matrix (out, k). */
static size_t hyb_cuda_format_scratch(int64_t k, int64_t out, int n)
{
    const size_t row = hyb_cuda_format_row(n, k), rows = HYB_MAX((size_t)HYB_CUDA_SLICE / row / 8 * 8, 8);
    return hyb_cuda_format_near(n, k) + HYB_MIN(rows, (size_t)hyb_cuda_pad(out)) * row + HYB_CUDA_FORMAT_ALIGN;
}

static void hyb_cuda_format_begin(hyb_cuda_format *f, hyb_cuda_at *at, const hyb_rounding *rounding, int n, int64_t k,
                                  int64_t out)
{
    const size_t bytes = hyb_cuda_format_near(n, k), row = hyb_cuda_format_row(n, k);
    const int64_t fit = (int64_t)((at->scratch_bytes - bytes - HYB_CUDA_FORMAT_ALIGN) / row);
    f->q = at->q;
    f->rounding = rounding;
    f->bf16 = rounding->type == HYBRID_TYPE_BF16;
    f->blas = hyb_cuda_blas_has(at->q, f->bf16);
    f->n = n;
    f->k = k;
    f->n_pad = hyb_cuda_pad(n);
    f->k_pad = hyb_cuda_pad(k);
    f->slice = HYB_MAX(HYB_MIN(HYB_MIN(fit, hyb_cuda_pad(out)), 65528) / 8 * 8, 8); /* rows of a grid */
    f->x = (uint16_t *)(void *)at->scratch;
    f->dy = (uint16_t *)(void *)(at->scratch + bytes);
    f->w = (uint16_t *)(void *)(at->scratch + bytes +
                                hyb_align((size_t)f->slice * (size_t)f->n_pad * sizeof(uint16_t), 256));
}

/* to (rows, ld) = x (rows, k), zeros from k on; or turned: to (k, ld), zeros from rows on. */
static void hyb_cuda_format_round(const hyb_cuda_format *f, bool turned, const float *x, int64_t x_stride, int64_t rows,
                                  int64_t k, uint16_t *to, int64_t ld)
{
    int32_t bf16 = f->bf16, rows32 = (int32_t)rows, k32 = (int32_t)k, ld32 = (int32_t)ld;
    void *args[7];
    args[0] = &x;
    args[1] = &x_stride;
    args[2] = &rows32;
    args[3] = &k32;
    args[4] = &bf16;
    args[5] = &to;
    args[6] = &ld32;
    if (turned)
        hyb_cuda_grid(f->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_turned, hyb_div_up(ld, 32), hyb_div_up(k, 32), 256,
                      args);
    else
        hyb_cuda_grid(f->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_rows, hyb_div_up(ld, 256), rows, 256, args);
}

/* The matrix in the format, where it is there; else NULL. Its rows are aligned as tensor cores want them. */
static const uint16_t *hyb_cuda_format_ready(const hyb_cuda_format *f, const hyb_tensor *w)
{
    const uint16_t *to = f->rounding->to;
    if (!to || f->k % 8) return NULL;
    to += (const float *)w->data - f->rounding->of;
    return (uintptr_t)(const void *)to % 16 ? NULL : to;
}

static const float *hyb_cuda_format_rows(const hyb_tensor *w, int64_t first)
{
    return (const float *)w->data + first * (int64_t)(w->nb[1] / sizeof(float));
}

/* y = x W^T + bias + add; x is rounded. */
static void hyb_cuda_format_y(const hyb_cuda_format *f, const hyb_matmul_out *o)
{
    const uint16_t *ready = hyb_cuda_format_ready(f, o->w);
    const int64_t rows = o->w->ne[1], slice = ready ? rows : f->slice;
    hyb_cuda_product p;
    int64_t first;
    memset(&p, 0, sizeof p);
    p.x = f->x;
    p.ldx = p.ldw = f->k_pad;
    p.n = f->n;
    p.k = (int)f->k_pad;
    p.add_stride = o->add_stride;
    p.y_stride = o->y_stride;
    for (first = 0; first < rows; first += slice) {
        p.out = (int)HYB_MIN(slice, rows - first);
        p.w = ready ? ready : f->w;
        p.bias = o->bias ? o->bias + first : NULL;
        p.add = o->add ? o->add + first : NULL;
        p.y = o->y + first;
        if (!ready)
            hyb_cuda_format_round(f, false, hyb_cuda_format_rows(o->w, first), (int64_t)(o->w->nb[1] / sizeof(float)),
                                  p.out, f->k, f->w, f->k_pad);
        hyb_cuda_tensor_cores(f->q, f->bf16, &p);
    }
}

/* dx (n, k) = or += dy W, of some rows of W. */
static void hyb_cuda_format_dx(const hyb_cuda_format *f, const hyb_matmul_dy *o, int64_t first, int64_t rows, float *dx,
                               int64_t dx_stride, bool add)
{
    const uint16_t *ready = f->blas ? hyb_cuda_format_ready(f, o->w) : NULL;
    const int64_t rows_pad = hyb_cuda_pad(rows);
    hyb_cuda_product p;
    hyb_cuda_product_back b;
    hyb_cuda_format_round(f, false, o->dy + first, o->dy_stride, f->n, rows, f->dy, rows_pad);
    if (!ready)
        hyb_cuda_format_round(f, !f->blas, hyb_cuda_format_rows(o->w, first), (int64_t)(o->w->nb[1] / sizeof(float)),
                              rows, f->k, f->w, f->blas ? f->k_pad : rows_pad);
    if (f->blas) {
        memset(&b, 0, sizeof b);
        b.a = (const float *)(const void *)f->dy;
        b.b = (const float *)(const void *)(ready ? ready + first * f->k : f->w);
        b.c = dx;
        b.a_m = rows_pad;
        b.a_p = 1;
        b.b_p = f->k_pad;
        b.c_m = dx_stride;
        b.m = f->n;
        b.n = (int32_t)f->k;
        b.p = (int32_t)rows;
        b.add = add;
        hyb_cuda_gemm_back(f->q, f->bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, &b);
        return;
    }
    memset(&p, 0, sizeof p);
    p.x = f->dy;
    p.w = f->w;
    p.ldx = p.ldw = rows_pad;
    p.n = f->n;
    p.out = (int)f->k;
    p.k = (int)rows_pad;
    p.add = add ? dx : NULL;
    p.y = dx;
    p.add_stride = p.y_stride = dx_stride;
    hyb_cuda_tensor_cores(f->q, f->bf16, &p);
}

/* Some rows of dw (out, k) += dy^T x; x is rounded, and turned where own kernels want it. */
static void hyb_cuda_format_dw(const hyb_cuda_format *f, const hyb_matmul_dw *o, int64_t first, int64_t rows)
{
    const int64_t ld = f->blas ? hyb_cuda_pad(rows) : f->n_pad;
    float *dw = o->dw + first * f->k;
    hyb_cuda_product p;
    hyb_cuda_product_back b;
    hyb_cuda_format_round(f, !f->blas, o->dy + first, o->dy_stride, f->n, rows, f->dy, ld);
    if (f->blas) {
        memset(&b, 0, sizeof b);
        b.a = (const float *)(const void *)f->dy;
        b.b = (const float *)(const void *)f->x;
        b.c = dw;
        b.a_m = 1;
        b.a_p = ld;
        b.b_p = f->k_pad;
        b.c_m = f->k;
        b.m = (int32_t)rows;
        b.n = (int32_t)f->k;
        b.p = f->n;
        b.add = 1;
        hyb_cuda_gemm_back(f->q, f->bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, &b);
        return;
    }
    memset(&p, 0, sizeof p);
    p.x = f->dy;
    p.w = f->x;
    p.ldx = p.ldw = f->n_pad;
    p.n = (int)rows;
    p.out = (int)f->k;
    p.k = (int)f->n_pad;
    p.add = p.y = dw;
    p.add_stride = p.y_stride = f->k;
    hyb_cuda_tensor_cores(f->q, f->bf16, &p);
}

static bool hyb_cuda_format_is(const hyb_op_matmul *op)
{
    int i;
    if (!op->in_chunks || op->rounding.type == HYBRID_TYPE_F32) return false;
    for (i = 0; i < op->n_out; i++)
        if (op->out[i].w->type != HYBRID_TYPE_F32) return false;
    return true;
}

static void hyb_cuda_op_matmul(hyb_cuda_at *at, const hyb_op_matmul *op)
{
    hyb_cuda_format f;
    int i;
    if (!hyb_cuda_format_is(op)) {
        hyb_cuda_matmul(at->q, op, at->scratch, at->scratch_bytes);
        return;
    }
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        hyb_cuda_format_begin(&f, at, &op->rounding, op->n, op->out[0].w->ne[0], op->out[i].w->ne[1]);
        if (!i) hyb_cuda_format_round(&f, false, op->x, op->x_stride, f.n, f.k, f.x, f.k_pad);
        hyb_cuda_format_y(&f, &op->out[i]);
    }
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* Bytes of scratch of matmul_back_x: rows of W as floats, all of them or a slice. */
static size_t hyb_cuda_back_scratch(hybrid_type type, int64_t k, int64_t out)
{
    const size_t row = (size_t)k * sizeof(float);
    if (type == HYBRID_TYPE_F32) return 0;
    return HYB_MIN((size_t)out, HYB_MAX((size_t)HYB_CUDA_SLICE / row, 1)) * row;
}

static void hyb_cuda_product_by_any(hyb_cuda_queue *q, const hyb_cuda_product_back *o)
{
    hyb_cuda_product_back copy = *o;
    void *args[1];
    if (hyb_cuda_gemm_back(q, HYB_CUDA_R_32F, o)) return;
    args[0] = &copy;
    hyb_cuda_grid(q, HYB_MODULE_GEMM_BACK, 0, (o->m + 63) / 64, (o->n + 63) / 64, 256, args);
}

/* dx (n, k) = or += dy (n, out) . w (out, k); w of any type, F32 from where it lies. */
static void hyb_cuda_back_x(hyb_cuda_at *at, const hyb_op_matmul_back_x *op, const hyb_matmul_dy *o, bool add)
{
    const hyb_tensor *w = o->w;
    const bool f32 = w->type == HYBRID_TYPE_F32;
    const int64_t k = w->ne[0], slice = f32 ? w->ne[1] : hyb_cuda_decoded_rows(w, at->scratch_bytes);
    hyb_cuda_product_back p;
    int64_t first;
    p.m = op->n;
    p.n = (int32_t)k;
    p.a_m = o->dy_stride;
    p.a_p = 1;
    p.b_p = k;
    p.c = op->dx;
    p.c_m = op->dx_stride;
    for (first = 0; first < w->ne[1]; first += slice) {
        p.p = (int32_t)HYB_MIN(slice, w->ne[1] - first);
        p.a = o->dy + first;
        p.b = f32 ? (const float *)w->data : (const float *)(void *)at->scratch;
        p.add = add || first;
        if (!f32) hyb_cuda_decode(at->q, w, first, p.p, (float *)(void *)at->scratch);
        hyb_cuda_product_by_any(at->q, &p);
    }
}
static void hyb_cuda_op_matmul_back_x(hyb_cuda_at *at, const hyb_op_matmul_back_x *op)
{
    hyb_cuda_format f;
    int64_t first;
    int i;
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        const hyb_matmul_dy *o = &op->out[i];
        if (op->rounding.type == HYBRID_TYPE_F32 || o->w->type != HYBRID_TYPE_F32) {
            hyb_cuda_back_x(at, op, o, i > 0);
            continue;
        }
        hyb_cuda_format_begin(&f, at, &op->rounding, op->n, o->w->ne[0], o->w->ne[1]);
        for (first = 0; first < o->w->ne[1]; first += f.slice)
            hyb_cuda_format_dx(&f, o, first, HYB_MIN(f.slice, o->w->ne[1] - first), op->dx, op->dx_stride,
                               i > 0 || first > 0);
    }
}

/* dw += dy^T x in float32. */
static void hyb_cuda_back_w(hyb_cuda_at *at, const hyb_op_matmul_back_w *op, const hyb_matmul_dw *o)
{
    hyb_cuda_product_back p;
    p.m = (int32_t)o->n;
    p.n = (int32_t)op->k;
    p.p = op->n;
    p.a = o->dy;
    p.a_m = 1;
    p.a_p = o->dy_stride;
    p.b = op->x;
    p.b_p = op->x_stride;
    p.c = o->dw;
    p.c_m = op->k;
    p.add = 1;
    hyb_cuda_product_by_any(at->q, &p);
}

static void hyb_cuda_op_matmul_back_w(hyb_cuda_at *at, const hyb_op_matmul_back_w *op)
{
    const bool rounds = op->rounding.type != HYBRID_TYPE_F32;
    bool x_is_there = false;
    hyb_cuda_format f;
    int64_t first;
    int i;
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        const hyb_matmul_dw *o = &op->out[i];
        if (o->dw && !rounds) hyb_cuda_back_w(at, op, o);
        if (o->dw && rounds) {
            hyb_cuda_format_begin(&f, at, &op->rounding, op->n, op->k, o->n);
            if (!x_is_there)
                hyb_cuda_format_round(&f, !f.blas, op->x, op->x_stride, f.n, f.k, f.x, f.blas ? f.k_pad : f.n_pad);
            x_is_there = true;
            for (first = 0; first < o->n; first += f.slice)
                hyb_cuda_format_dw(&f, o, first, HYB_MIN(f.slice, o->n - first));
        }
        if (o->dbias) hyb_cuda_sum_rows(at, o->dy, o->dy_stride, op->n, o->n, o->dbias);
    }
}
#endif
#endif
