/* cuda/ops_recurrent: the ops of layers that keep a state of a sequence from row to row, in slots, and their gradients.
 * Kernels find the slots in the table of runs, so that a recorded pass can be replayed for other sequences. */
#ifndef HYB_CUDA_OPS_RECURRENT_C
#define HYB_CUDA_OPS_RECURRENT_C
#include "../compute/op.c"
#include "ops.c"

#define HYB_CUDA_KERNELS_RECURRENT(X) X(shift) X(shortconv) X(wkv7_32) X(wkv7_64) X(wkv7_128)
#define HYB_CUDA_KERNELS_RECURRENT_BACK(X) \
    X(shift_back) X(shift_back_w) X(shortconv_back) X(shortconv_back_w) X(wkv7_back) X(wkv7_back_w)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_RECURRENT(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RECURRENT };
enum { HYB_CUDA_KERNELS_RECURRENT_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RECURRENT_BACK };
#undef HYB_KERNEL_NUMBER

static void hyb_cuda_op_shift(hyb_cuda_at *at, const hyb_op_shift *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_op_shift o = *op;
    const int32_t *run_of_row = batch->run_of_row, *runs = batch->runs;
    int32_t n = (int32_t)op->n_embd;
    void *args[10];
    args[0] = &o.x;
    args[1] = &o.mix;
    args[2] = &o.n_mix;
    args[3] = &n;
    args[4] = &o.slots.data;
    args[5] = &o.slots.stride;
    args[6] = &o.out;
    args[7] = &o.plane;
    args[8] = &run_of_row;
    args[9] = &runs;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, HYB_KERNEL_shift, hyb_div_up(n, 256), batch->n, 1, 256, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_shift_back(hyb_cuda_at *at, const hyb_op_shift_back *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_op_shift_back o = *op;
    const int32_t *run_of_row = batch->run_of_row, *runs = batch->runs;
    int32_t n = (int32_t)op->n_embd, rows = batch->n;
    void *args[8];
    args[0] = &o.mix;
    args[1] = &o.n_mix;
    args[2] = &n;
    args[3] = &o.dout;
    args[4] = &o.plane;
    args[5] = &o.dx;
    args[6] = &run_of_row;
    args[7] = &runs;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shift_back, hyb_div_up(n, 256), rows, 1, 256, 1, 0,
                     args);
    if (!op->dmix) return;
    args[0] = &o.x;
    args[1] = &n;
    args[2] = &rows;
    args[5] = &o.dmix;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shift_back_w, hyb_div_up(n, 32), op->n_mix, 1, 32, 32,
                     0, args);
}
#endif

/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_conv_args {
    const float *bcx, *w;
    float *slots, *out;
    const int32_t *run_of_row, *runs;
    int64_t stride, slot_stride, out_stride;
    int32_t n, taps;
} hyb_cuda_conv_args;

static void hyb_cuda_op_shortconv(hyb_cuda_at *at, const hyb_op_shortconv *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_conv_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.bcx = op->bcx;
    a.w = op->w;
    a.slots = op->slots.data;
    a.out = op->out;
    a.run_of_row = batch->run_of_row;
    a.runs = batch->runs;
    a.stride = op->bcx_stride;
    a.slot_stride = op->slots.stride;
    a.out_stride = op->out_stride;
    a.n = (int32_t)op->n_embd;
    a.taps = op->n_taps;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, HYB_KERNEL_shortconv, hyb_div_up(a.n, 256), batch->n, 1, 256, 1, 0,
                     args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_conv_back_args {
    const float *bcx, *w, *dout;
    float *dbcx, *dw;
    const int32_t *run_of_row, *runs;
    int64_t stride, dout_stride, dbcx_stride;
    int32_t n, taps, rows;
} hyb_cuda_conv_back_args;

static void hyb_cuda_op_shortconv_back(hyb_cuda_at *at, const hyb_op_shortconv_back *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_conv_back_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.bcx = op->bcx;
    a.w = op->w;
    a.dout = op->dout;
    a.dbcx = op->dbcx;
    a.dw = op->dw;
    a.run_of_row = batch->run_of_row;
    a.runs = batch->runs;
    a.stride = op->bcx_stride;
    a.dout_stride = op->dout_stride;
    a.dbcx_stride = op->dbcx_stride;
    a.n = (int32_t)op->n_embd;
    a.taps = op->n_taps;
    a.rows = batch->n;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shortconv_back, hyb_div_up(a.n, 256), batch->n, 1,
                     256, 1, 0, args);
    if (op->dw)
        hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shortconv_back_w, hyb_div_up(a.n, 32), a.taps, 1,
                         32, 32, 0, args);
}
#endif

/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_wkv7_args {
    const float *r, *k, *v, *decay, *rate, *value_gate, *gate, *v_first;
    const float *k_k, *k_a, *r_k, *ln_w, *ln_b;
    float *slots, *out;
    const int32_t *runs;
    int64_t stride, v_first_stride, out_stride, slot_stride;
    int32_t size;
    float eps;
} hyb_cuda_wkv7_args;

static void hyb_cuda_wkv7_set(hyb_cuda_wkv7_args *a, const hyb_cuda_at *at, const hyb_op_wkv7 *op)
{
    memset(a, 0, sizeof *a);
    a->r = op->r;
    a->k = op->k;
    a->v = op->v;
    a->decay = op->decay;
    a->rate = op->rate;
    a->value_gate = op->value_gate;
    a->gate = op->gate;
    a->v_first = op->v_first;
    a->k_k = op->k_k;
    a->k_a = op->k_a;
    a->r_k = op->r_k;
    a->ln_w = op->ln_w;
    a->ln_b = op->ln_b;
    a->slots = op->slots.data;
    a->out = op->out;
    a->runs = at->batch.runs;
    a->stride = op->stride;
    a->v_first_stride = op->v_first_stride;
    a->out_stride = op->out_stride;
    a->slot_stride = op->slots.stride;
    a->size = op->size;
    a->eps = op->eps;
}

static void hyb_cuda_op_wkv7(hyb_cuda_at *at, const hyb_op_wkv7 *op)
{
    const int kernel = op->size <= 32 ? HYB_KERNEL_wkv7_32 : op->size <= 64 ? HYB_KERNEL_wkv7_64 : HYB_KERNEL_wkv7_128;
    const unsigned threads = op->size <= 32 ? 32 : op->size <= 64 ? 64 : HYB_WKV_SIZE_MAX;
    hyb_cuda_wkv7_args a;
    void *args[1];
    hyb_cuda_wkv7_set(&a, at, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, kernel, op->n_head, at->batch.n_runs, 1, threads, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_wkv7_back_args {
    hyb_cuda_wkv7_args of;
    const float *dout;
    int64_t dout_stride;
    float *dr, *dk, *dv, *ddecay, *drate, *dvalue_gate, *dgate, *dv_first;
    float *kept, *states, *parts;
} hyb_cuda_wkv7_back_args;
enum {
    HYB_CUDA_WKV_STATES = HYB_WKV_BACK_ROWS + 2,
    HYB_CUDA_WKV_WEIGHTS = 5 /* kinds of weights that have gradients */
};

/* Floats of scratch: matrices that are kept of all rows; those of the rows that are worked on; gradients of runs. */
static size_t hyb_cuda_wkv7_back_kept(int n_head, int size, int n_rows, int n_runs)
{
    return (size_t)n_head * (size_t)size * (size_t)size * (size_t)(n_rows / HYB_WKV_BACK_ROWS + n_runs);
}
static size_t hyb_cuda_wkv7_back_states(int n_head, int size, int n_runs)
{
    return (size_t)n_head * (size_t)size * (size_t)size * HYB_CUDA_WKV_STATES * (size_t)n_runs;
}
static size_t hyb_cuda_wkv7_back_scratch(int n_head, int size, int n_rows, int n_runs)
{
    return (hyb_cuda_wkv7_back_kept(n_head, size, n_rows, n_runs) + hyb_cuda_wkv7_back_states(n_head, size, n_runs) +
            (size_t)n_runs * HYB_CUDA_WKV_WEIGHTS * (size_t)n_head * (size_t)size) *
           sizeof(float);
}

static void hyb_cuda_wkv7_back_weights(hyb_cuda_at *at, const hyb_op_wkv7_back *op, float *parts)
{
    hyb_op_wkv7_back o = *op;
    int32_t n_runs = at->batch.n_runs, n = op->of.n_head * op->of.size;
    void *args[8];
    args[0] = &parts;
    args[1] = &n_runs;
    args[2] = &n;
    args[3] = &o.dk_k;
    args[4] = &o.dk_a;
    args[5] = &o.dr_k;
    args[6] = &o.dln_w;
    args[7] = &o.dln_b;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_wkv7_back_w, hyb_div_up(n, 256), HYB_CUDA_WKV_WEIGHTS,
                     1, 256, 1, 0, args);
}

/* In hyb_cuda_wkv7_back_scratch of the scratch. */
static void hyb_cuda_op_wkv7_back(hyb_cuda_at *at, const hyb_op_wkv7_back *op)
{
    const hyb_op_wkv7 *of = &op->of;
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_wkv7_back_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    hyb_cuda_wkv7_set(&a.of, at, of);
    a.dout = op->dout;
    a.dout_stride = op->dout_stride;
    a.dr = op->dr;
    a.dk = op->dk;
    a.dv = op->dv;
    a.ddecay = op->ddecay;
    a.drate = op->drate;
    a.dvalue_gate = op->dvalue_gate;
    a.dgate = op->dgate;
    a.dv_first = op->dv_first;
    a.kept = (float *)(void *)at->scratch;
    a.states = a.kept + hyb_cuda_wkv7_back_kept(of->n_head, of->size, batch->n, batch->n_runs);
    if (op->dk_k) a.parts = a.states + hyb_cuda_wkv7_back_states(of->n_head, of->size, batch->n_runs);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_wkv7_back, of->n_head, batch->n_runs, 1, 256, 1, 0,
                     args);
    if (op->dk_k) hyb_cuda_wkv7_back_weights(at, op, a.parts);
}
#endif
#endif
