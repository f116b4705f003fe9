/* compute/cpu/matmul: the matrix product of the CPU back end: which kernel, how the work is split, bias and
 * accumulation.
 *
 * One parallel section prepares the activations (none for n = 1), one runs all matrices of the op. Work is split by
 * rows of the weights, in chunks of some 10-50 us, several a lane, so that a lost core delays the others by one
 * chunk only.
 *
 * What adapters add goes through the same section: after the chunks of the products come those of t = factor * (x A^T),
 * then those of y += t B^T, which wait until all before them are done: that is when another lane is late.
 *
 * A type without kernels of its own is multiplied by those of F32: a lane decodes some rows of the weights, and all
 * rows of x pass them. So it has the order of float weights, and the bits of a matrix that was decoded before. */
#ifndef HYB_COMPUTE_CPU_MATMUL_C
#define HYB_COMPUTE_CPU_MATMUL_C
#include "../../core/runtime.c"
#include "../../quant/types.c"
#include "../backend.c"
#include "int/repack.c"
#include "int/select.c"
#include "pace.c"
#include "select.c"

enum {
    HYB_MATMUL_CHUNK = 192 << 10,    /* decode: at most this many bytes of weights a chunk, */
    HYB_MATMUL_CHUNK_MIN = 16 << 10, /* at least this many, */
    HYB_MATMUL_CHUNKS_A_LANE = 4,    /* and about this many chunks a lane where there is enough work */
    HYB_MATMUL_LOW_X = 64,           /* x A^T: rows of x a chunk, */
    HYB_MATMUL_LOW_A = 8 << 10,      /* and bytes of A at least; */
    HYB_MATMUL_LOW_B = 4 << 10,      /* t B^T: bytes of B a chunk at least */
    /* and of either so many at its beginning are asked for at once: these matrices are little, and the processor would
     * not know before the end of one that it is read in order */
    HYB_MATMUL_LOW_FETCH = 3 << 10,
    /* n > 1 by gemv: bytes of weights that stay in L1 / L2 while the rows of x take turns */
    HYB_MATMUL_WARM = 24 << 10,
    HYB_MATMUL_ROWS = 64,           /* prefill: at most this many rows a chunk */
    HYB_MATMUL_DECODED = 256 << 10, /* and, of a type that is decoded, this many bytes of floats at once */
    HYB_MATMUL_PREPARE = 4          /* rows of x that are prepared in one chunk */
};

/* What makes floats of the rows of a type for which no instruction set has kernels; NULL: they have, or there is no
 * such type. */
static hyb_dequantize_fn hyb_matmul_decoder(hybrid_type type)
{
    const hyb_type_traits *t = hyb_type_info(type);
    if (!t || hyb_int_kernel_for(HYB_ISA_GENERIC, type) || hyb_matmul_float_kernel(HYB_ISA_GENERIC, type)) return NULL;
    return t->dequantize_row;
}

/* The kernel of a type, or that which multiplies its decoded rows; NULL when there is no such type. isa is at most what
 * the machine has. */
static const hyb_matmul_kernel *hyb_matmul_kernel_for(hyb_isa isa, hybrid_type type)
{
    const hyb_matmul_kernel *kernel = hyb_int_kernel_for(isa, type);
    if (!kernel) kernel = hyb_matmul_float_kernel(isa, hyb_matmul_decoder(type) ? HYBRID_TYPE_F32 : type);
    return kernel;
}

/* Rows of k values that are decoded at once: those that stay in L1 while the rows of x take turns, or some for gemm,
 * which packs them. */
static int64_t hyb_matmul_decoded_rows(const hyb_matmul_kernel *kernel, int64_t k, bool by_gemv)
{
    const int64_t row = HYB_MAX(k, 1) * (int64_t)sizeof(float), step = kernel->row_step;
    if (by_gemv) return HYB_MAX(HYB_MATMUL_WARM / row, 1);
    return HYB_MIN(HYB_MAX(HYB_MATMUL_DECODED / row / step, 1) * step, HYB_MAX((int64_t)HYB_MATMUL_ROWS, step));
}
static size_t hyb_matmul_decoded_bytes(const hyb_matmul_kernel *kernel, int64_t k, bool by_gemv)
{
    return hyb_align((size_t)(hyb_matmul_decoded_rows(kernel, k, by_gemv) * k) * sizeof(float), 64);
}

/* Decodes rows of k values, row_bytes apart, one after the other. */
static void hyb_matmul_decode(hyb_dequantize_fn decode, const char *rows, size_t row_bytes, int64_t k, int64_t n,
                              float *to)
{
    for (; n > 0; n--, rows += row_bytes, to += k) decode(rows, to, (size_t)k);
}

typedef enum hyb_matmul_does { HYB_MATMUL_W, HYB_MATMUL_A, HYB_MATMUL_B } hyb_matmul_does;
typedef struct hyb_matmul_part { /* one matrix of the op, or of what is added */
    hyb_matmul_does does;
    const hyb_matmul_out *out;
    const hyb_matmul_kernel *kernel; /* NULL of a B, as all up to acts */
    const hyb_act_format *format;
    const hyb_repack *repack; /* decode reads w->repacked by this one's gemv, or NULL */
    hyb_dequantize_fn decode; /* what makes F32 of rows for the kernel; NULL: it reads w as it is */
    const char *acts;         /* n prepared rows */
    size_t act_bytes;
    int64_t chunk_rows;
    int x_chunks; /* into which the rows of x are cut: 1 but for an A, */
    float factor; /* whose products have a factor */
    int first_chunk;
} hyb_matmul_part;

typedef struct hyb_matmul_job {
    const hyb_op_matmul *op;
    const hyb_cpu_kernels *rows; /* which add */
    hyb_matmul_part part[12];    /* every W, every A, every B */
    hyb_matmul_out a_out[4];
    const hyb_act_format *format[HYB_LIMIT_FORMATS]; /* the distinct ones */
    char *format_acts[HYB_LIMIT_FORMATS];
    int n_parts, n_formats, n_chunks;
    int before_b;           /* chunks that those of a B wait for; 0: there is none */
    volatile uint64_t done; /* of them */
    char *lane_scratch;
    size_t lane_bytes; /* scratch of a lane: the kernel's, then decoded rows, then a tile of results for y += */
    size_t decoded_at, tile_at;
} hyb_matmul_job;

static bool hyb_matmul_by_gemv(const hyb_matmul_kernel *kernel, int n) { return n <= HYB_MAX(kernel->gemv_up_to, 1); }
static bool hyb_matmul_by_few(const hyb_matmul_kernel *kernel, int n) { return n <= HYB_MAX(kernel->few_up_to, 1); }

/* low <= v <= high; low wins. */
static int64_t hyb_matmul_clamp(int64_t v, int64_t low, int64_t high)
{
    v = HYB_MIN(v, high);
    return HYB_MAX(v, low);
}

/* Rows of a chunk of matrix w: follows from w, n and lanes alone, so that scratch can be planned. Of a gemv: whole
 * groups of rows, as in a repacked matrix. */
static int64_t hyb_matmul_chunk_rows(const hyb_matmul_kernel *kernel, const hyb_tensor *w, int n, int lanes)
{
    int64_t rows = w->ne[1], bytes = (int64_t)hybrid_type_row_bytes(w->type, (size_t)w->ne[0]), step = kernel->row_step;
    int64_t shares = (int64_t)lanes * HYB_MATMUL_CHUNKS_A_LANE, most = HYB_MATMUL_CHUNK;
    if (rows < 1 || bytes < 1) return 1;
    if (!hyb_matmul_by_few(kernel, n))
        return hyb_matmul_clamp(rows / shares / step * step, step, HYB_MATMUL_ROWS / step * step);
    if (lanes > 1) most = hyb_matmul_clamp(rows * bytes / shares, HYB_MATMUL_CHUNK_MIN, most);
    return hyb_matmul_clamp(hyb_align((size_t)hyb_matmul_clamp(most / bytes, 1, rows), HYB_REPACK_ROWS), 1, rows);
}

/* What a part reads of x: the place of its format among those of the job, in scratch from *at on. */
static const char *hyb_matmul_plan_acts(hyb_matmul_job *job, const hyb_matmul_part *part, char *scratch, size_t *at)
{
    int f;
    for (f = 0; f < job->n_formats && job->format[f] != part->format; f++) {}
    if (f == job->n_formats) {
        job->format[job->n_formats++] = part->format;
        job->format_acts[f] = scratch ? scratch + *at : NULL;
        *at += part->act_bytes * (size_t)job->op->n;
    }
    return job->format_acts[f];
}

/* Adds a part of so many chunks. */
static void hyb_matmul_plan_chunks(hyb_matmul_job *job, hyb_matmul_part *part, hyb_matmul_does does)
{
    part->does = does;
    part->first_chunk = job->n_chunks;
    job->n_chunks += (int)((part->out->w->ne[1] + part->chunk_rows - 1) / part->chunk_rows) * part->x_chunks;
    job->n_parts++;
}

/* y = x W^T, or t = x A^T. */
static void hyb_matmul_plan_product(hyb_matmul_job *job, hyb_isa isa, int lanes, const hyb_matmul_out *out,
                                    hyb_matmul_does does)
{
    const int n = job->op->n;
    const hyb_tensor *w = out->w;
    hyb_matmul_part *part = &job->part[job->n_parts];
    const hyb_matmul_kernel *kernel = hyb_matmul_kernel_for(isa, w->type);
    bool by_gemv;
    if (!kernel || w->ne[1] < 1 || n < 1) return;
    by_gemv = hyb_matmul_by_few(kernel, n);
    part->out = out;
    part->kernel = kernel;
    part->format = by_gemv ? kernel->one : kernel->many;
    part->repack = w->repacked && by_gemv ? hyb_repack_for(isa, w->type) : NULL;
    part->decode = hyb_matmul_decoder(w->type);
    part->act_bytes = part->format->bytes(w->ne[0]);
    part->chunk_rows = hyb_matmul_chunk_rows(kernel, w, n, lanes);
    part->x_chunks = 1;
    if (does == HYB_MATMUL_A) part->x_chunks = (n + HYB_MATMUL_LOW_X - 1) / HYB_MATMUL_LOW_X;
    if (does == HYB_MATMUL_A && by_gemv)
        part->chunk_rows = HYB_MAX((w->ne[1] + lanes - 1) / lanes, (int64_t)(HYB_MATMUL_LOW_A / w->nb[1] + 1));
    hyb_matmul_plan_chunks(job, part, does);
}

/* t = factor * (x A^T) for every output that an adapter changes. */
static void hyb_matmul_plan_a(hyb_matmul_job *job, hyb_isa isa, int lanes)
{
    int i;
    for (i = 0; i < job->op->n_out; i++) {
        const hyb_matmul_low *low = job->op->out[i].low;
        hyb_matmul_out *a = &job->a_out[i];
        if (!low) continue;
        a->w = &low->a;
        a->y = low->t;
        a->y_stride = low->a.ne[1];
        job->part[job->n_parts].factor = low->factor;
        hyb_matmul_plan_product(job, isa, lanes, a, HYB_MATMUL_A);
    }
}

/* y += t B^T. */
static void hyb_matmul_plan_b(hyb_matmul_job *job, int lanes)
{
    int i;
    for (i = 0; i < job->op->n_out; i++) {
        const hyb_matmul_out *out = &job->op->out[i];
        hyb_matmul_part *part = &job->part[job->n_parts];
        int64_t rows;
        if (!out->low || job->op->n < 1) continue;
        rows = HYB_MAX(out->w->ne[1] / lanes, (int64_t)(HYB_MATMUL_LOW_B / out->low->b.nb[1]));
        part->out = out;
        part->x_chunks = 1;
        part->chunk_rows = (int64_t)hyb_align((size_t)HYB_MAX(rows, 1), HYB_LOW_PANEL);
        hyb_matmul_plan_chunks(job, part, HYB_MATMUL_B);
    }
}

/* Lays out the job in scratch (NULL: only counts) and returns the bytes that it takes. */
static size_t hyb_matmul_plan(hyb_matmul_job *job, hyb_isa isa, int lanes, char *scratch, const hyb_op_matmul *op)
{
    size_t at = 0, kernel_bytes = 0, decoded_bytes = 0, tile_bytes = 0;
    int i;
    memset(job, 0, sizeof *job);
    job->op = op;
    job->rows = hyb_cpu_kernels_for(isa);
    for (i = 0; i < op->n_out && !op->only_low; i++)
        hyb_matmul_plan_product(job, isa, lanes, &op->out[i], HYB_MATMUL_W);
    job->before_b = job->n_chunks;
    hyb_matmul_plan_a(job, isa, lanes);
    job->before_b = job->before_b < job->n_chunks ? job->n_chunks : 0;
    hyb_matmul_plan_b(job, lanes);
    for (i = 0; i < job->n_parts; i++) {
        hyb_matmul_part *part = &job->part[i];
        const hyb_matmul_kernel *kernel = part->kernel;
        const int64_t k = part->out->w->ne[0];
        const bool by_gemv = kernel && hyb_matmul_by_few(kernel, op->n);
        if (part->does == HYB_MATMUL_B) continue;
        part->acts = hyb_matmul_plan_acts(job, part, scratch, &at);
        if (!by_gemv) kernel_bytes = HYB_MAX(kernel_bytes, hyb_align(kernel->scratch_bytes(k, op->n), 64));
        if (part->decode) decoded_bytes = HYB_MAX(decoded_bytes, hyb_matmul_decoded_bytes(kernel, k, by_gemv));
        if (part->does == HYB_MATMUL_W)
            tile_bytes = HYB_MAX(tile_bytes, (size_t)op->n * (size_t)part->chunk_rows * sizeof(float));
    }
    job->decoded_at = kernel_bytes;
    job->tile_at = kernel_bytes + decoded_bytes;
    job->lane_bytes = job->tile_at + hyb_align(tile_bytes, 64);
    job->lane_scratch = scratch ? scratch + at : NULL;
    return at + job->lane_bytes * (size_t)lanes;
}

/* Bytes of scratch that hyb_matmul_run needs for an op: reads its n, n_out, and type and sizes of every out[i].w. */
static size_t hyb_matmul_bytes(hyb_isa isa, int lanes, const hyb_op_matmul *op)
{
    hyb_matmul_job job;
    return hyb_matmul_plan(&job, isa, lanes, NULL, op);
}

static void hyb_matmul_prepare(void *arg, int chunk, int lane)
{
    hyb_matmul_job *job = (hyb_matmul_job *)arg;
    const hyb_op_matmul *op = job->op;
    int64_t k = op->out[0].w->ne[0];
    int i, f, end = HYB_MIN(op->n, (chunk + 1) * HYB_MATMUL_PREPARE);
    HYB_UNUSED(lane);
    for (i = chunk * HYB_MATMUL_PREPARE; i < end; i++)
        for (f = 0; f < job->n_formats; f++)
            job->format[f]->prepare(op->x + i * op->x_stride, k,
                                    job->format_acts[f] + (size_t)i * job->format[f]->bytes(k));
}

/* Rows r0..r1 of one matrix and one row of x. */
static void hyb_matmul_gemv(const hyb_matmul_part *part, const hyb_tensor *w, const char *act, float *y, int64_t r0,
                            int64_t r1)
{
    const int64_t whole = part->repack ? HYB_MIN(r1, w->ne[1] / HYB_REPACK_ROWS * HYB_REPACK_ROWS) : r0;
    if (whole > r0) part->repack->gemv(w->repacked, w->nb[1], w->ne[0], act, y, r0, whole);
    if (r1 > whole) part->kernel->gemv(w->data, w->nb[1], w->ne[0], act, y + (whole - r0), whole, r1);
}

/* Rows r0..r1 of one matrix, for few rows of x, to y[i * y_stride + r - r0]. r0 is a multiple of HYB_REPACK_ROWS. */
static void hyb_matmul_few(const hyb_matmul_part *part, const hyb_tensor *w, int n, float *y, int64_t y_stride,
                           int64_t r0, int64_t r1)
{
    const hyb_matmul_kernel *kernel = part->kernel;
    size_t row_bytes = w->nb[1];
    int64_t r, end,
        step = n == 1 ? r1 - r0 : (int64_t)hyb_align(HYB_MAX(HYB_MATMUL_WARM / row_bytes, 1), HYB_REPACK_ROWS);
    int i, count;
    for (r = r0; r < r1; r = end) {
        end = HYB_MIN(r + step, r1);
        for (i = 0; i < n; i += count) {
            const char *acts = part->acts + (size_t)i * part->act_bytes;
            float *to = y + i * y_stride + (r - r0);
            count = kernel->few ? HYB_MIN(n - i, (int)HYB_MATMUL_FEW) : 1;
            if (count > 1)
                kernel->few(w->data, row_bytes, w->ne[0], acts, count, to, y_stride, r, end);
            else
                hyb_matmul_gemv(part, w, acts, to, r, end);
        }
    }
}

/* The same for all rows of x. */
static void hyb_matmul_rows(const hyb_matmul_part *part, const hyb_tensor *w, int n, float *y, int64_t y_stride,
                            int64_t r0, int64_t r1, char *scratch)
{
    if (hyb_matmul_by_few(part->kernel, n))
        hyb_matmul_few(part, w, n, y, y_stride, r0, r1);
    else
        part->kernel->gemm(w->data, w->nb[1], w->ne[0], part->acts, n, y, y_stride, r0, r1, scratch);
}

/* The same for rows that are decoded first, to `decoded`. */
static void hyb_matmul_decoded(const hyb_matmul_part *part, const hyb_tensor *w, int n, float *y, int64_t y_stride,
                               int64_t r0, int64_t r1, float *decoded, char *scratch)
{
    const int64_t k = w->ne[0], step = hyb_matmul_decoded_rows(part->kernel, k, hyb_matmul_by_few(part->kernel, n));
    hyb_tensor rows = *w;
    int64_t r, end;
    rows.data = decoded;
    rows.nb[1] = (size_t)k * sizeof(float);
    for (r = r0; r < r1; r = end) {
        end = HYB_MIN(r + step, r1);
        hyb_matmul_decode(part->decode, (const char *)w->data + (size_t)r * w->nb[1], w->nb[1], k, end - r, decoded);
        rows.ne[1] = end - r;
        hyb_matmul_rows(part, &rows, n, y + (r - r0), y_stride, 0, end - r, scratch);
    }
}

/* Rows r0..r1 of y = x W^T, for all rows of x. */
static void hyb_matmul_product(hyb_matmul_job *job, const hyb_matmul_part *part, int64_t r0, int64_t r1, char *scratch)
{
    const hyb_op_matmul *op = job->op;
    const hyb_matmul_out *out = part->out;
    float *y = out->add ? (float *)(void *)(scratch + job->tile_at) : out->y + r0;
    const int64_t stride = out->add ? part->chunk_rows : out->y_stride;
    int i;
    if (part->decode)
        hyb_matmul_decoded(part, out->w, op->n, y, stride, r0, r1, (float *)(void *)(scratch + job->decoded_at),
                           scratch);
    else
        hyb_matmul_rows(part, out->w, op->n, y, stride, r0, r1, scratch);
    for (i = 0; i < op->n; i++) {
        float *t = y + i * stride;
        if (out->bias) job->rows->add(t, t, out->bias + r0, r1 - r0);
        if (out->add) job->rows->add(out->y + i * out->y_stride + r0, out->add + i * out->add_stride + r0, t, r1 - r0);
    }
}

/* Asks for the beginning of rows r0..r1 of an A or a B. */
static void hyb_matmul_fetch(const hyb_matmul_part *part, int64_t r0, int64_t r1)
{
    const hyb_tensor *w = part->does == HYB_MATMUL_A ? part->out->w : &part->out->low->b;
    const size_t scales = part->does == HYB_MATMUL_A ? 0 : hyb_low_scales(w->type, w->ne[1]),
                 bytes = HYB_MIN((size_t)(r1 - r0) * w->nb[1], (size_t)HYB_MATMUL_LOW_FETCH);
    const char *from = (const char *)w->data + scales + (size_t)r0 * w->nb[1];
    size_t at;
    for (at = 0; at < bytes; at += 64) HYB_PREFETCH(from + at);
    HYB_UNUSED(from);
}

/* Rows r0..r1 of A: t = factor * (x A^T) of n rows of x from x0 on. */
static void hyb_matmul_narrow(hyb_matmul_job *job, const hyb_matmul_part *part, int64_t r0, int64_t r1, int x0, int n,
                              char *scratch)
{
    const hyb_matmul_out *out = part->out;
    hyb_matmul_part some = *part;
    float *t = out->y + x0 * out->y_stride + r0;
    int i;
    some.acts += (size_t)x0 * part->act_bytes;
    hyb_matmul_fetch(part, r0, r1);
    if (hyb_matmul_by_few(part->kernel, job->op->n))
        hyb_matmul_few(&some, out->w, n, t, out->y_stride, r0, r1);
    else
        part->kernel->gemm(out->w->data, out->w->nb[1], out->w->ne[0], some.acts, n, t, out->y_stride, r0, r1, scratch);
    for (i = 0; i < n && part->factor != 1; i++, t += out->y_stride) job->rows->scale(t, t, part->factor, r1 - r0);
}

/* Rows r0..r1 of B: y += t B^T. The chunks before are done, or some lane is at them and waits for nobody. */
static void hyb_matmul_widen(hyb_matmul_job *job, const hyb_matmul_part *part, int64_t r0, int64_t r1)
{
    const hyb_matmul_out *out = part->out;
    int spins;
    hyb_matmul_fetch(part, r0, r1);
    for (spins = 0; hyb_atomic_load(&job->done) < (uint64_t)job->before_b; spins++) {
        hyb_pause();
        if (spins > 2000) hyb_yield(); /* it lost its core: give it ours */
    }
    job->rows->widen(&out->low->b, out->low->t, job->op->n, out->y + r0, out->y_stride, r0, r1);
}

static void hyb_matmul_chunk(void *arg, int chunk, int lane)
{
    hyb_matmul_job *job = (hyb_matmul_job *)arg;
    char *scratch = job->lane_scratch + (size_t)lane * job->lane_bytes;
    const hyb_matmul_part *part = &job->part[job->n_parts - 1];
    int64_t r0, r1;
    int c, x0;
    while (part->first_chunk > chunk) part--;
    c = (chunk - part->first_chunk) / part->x_chunks;
    x0 = (chunk - part->first_chunk) % part->x_chunks * HYB_MATMUL_LOW_X;
    r0 = c * part->chunk_rows;
    r1 = HYB_MIN(r0 + part->chunk_rows, part->out->w->ne[1]);
    if (part->does == HYB_MATMUL_A)
        hyb_matmul_narrow(job, part, r0, r1, x0, HYB_MIN(job->op->n - x0, (int)HYB_MATMUL_LOW_X), scratch);
    else if (part->does == HYB_MATMUL_B)
        hyb_matmul_widen(job, part, r0, r1);
    else
        hyb_matmul_product(job, part, r0, r1, scratch);
    if (chunk < job->before_b) hyb_atomic_add(&job->done, 1);
}

/* All matrices of op must have the same ne[0] and a type that hyb_matmul_kernel_for knows (the model's loader checks
 * both). scratch: hyb_matmul_bytes(isa, hyb_lanes(rt), op), aligned to 64. x and y may not overlap. */
static void hyb_matmul_run_paced(hybrid_runtime *rt, hyb_pace *pace, hyb_isa isa, void *scratch,
                                 const hyb_op_matmul *op)
{
    hyb_matmul_job job;
    int i;
    hyb_matmul_plan(&job, isa, hyb_lanes(rt), (char *)scratch, op);
    if (!job.n_chunks || hyb_pace_skip(pace, 2)) return;
    for (i = 0; i < job.n_parts && hyb_lanes(rt) == 1; i++) /* to its cache, while W is read */
        if (job.part[i].does != HYB_MATMUL_W) hyb_matmul_fetch(&job.part[i], 0, job.part[i].out->w->ne[1]);
    hyb_pace_run(pace, rt, (op->n + HYB_MATMUL_PREPARE - 1) / HYB_MATMUL_PREPARE, hyb_matmul_prepare, &job);
    job.done = (uint64_t)HYB_MIN(hyb_pace_chunks(pace), job.before_b); /* those of an earlier slice */
    hyb_pace_run(pace, rt, job.n_chunks, hyb_matmul_chunk, &job);
}

static void hyb_matmul_run(hybrid_runtime *rt, hyb_isa isa, void *scratch, const hyb_op_matmul *op)
{
    hyb_pace at_once;
    memset(&at_once, 0, sizeof at_once);
    hyb_matmul_run_paced(rt, &at_once, isa, scratch, op);
}
#endif
