/* cuda/ops_recurrent: the ops of layers that keep a state of a sequence from row to row, in slots. Kernels find the
 * slots in the table of runs, so that a recorded pass can be replayed for other sequences. */
#ifndef HYB_CUDA_OPS_RECURRENT_C
#define HYB_CUDA_OPS_RECURRENT_C
#include "../compute/op.c"
#include "ops.c"

#define HYB_CUDA_KERNELS_RECURRENT(X) X(shift) X(shortconv) X(wkv7_32) X(wkv7_64) X(wkv7_128)
#define HYB_KERNEL_NUMBER(name_)      HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_RECURRENT(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RECURRENT };
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

static void hyb_cuda_op_wkv7(hyb_cuda_at *at, const hyb_op_wkv7 *op)
{
    const int kernel = op->size <= 32 ? HYB_KERNEL_wkv7_32 : op->size <= 64 ? HYB_KERNEL_wkv7_64 : HYB_KERNEL_wkv7_128;
    const unsigned threads = op->size <= 32 ? 32 : op->size <= 64 ? 64 : HYB_WKV_SIZE_MAX;
    hyb_cuda_wkv7_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.r = op->r;
    a.k = op->k;
    a.v = op->v;
    a.decay = op->decay;
    a.rate = op->rate;
    a.value_gate = op->value_gate;
    a.gate = op->gate;
    a.v_first = op->v_first;
    a.k_k = op->k_k;
    a.k_a = op->k_a;
    a.r_k = op->r_k;
    a.ln_w = op->ln_w;
    a.ln_b = op->ln_b;
    a.slots = op->slots.data;
    a.out = op->out;
    a.runs = at->batch.runs;
    a.stride = op->stride;
    a.v_first_stride = op->v_first_stride;
    a.out_stride = op->out_stride;
    a.slot_stride = op->slots.stride;
    a.size = op->size;
    a.eps = op->eps;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, kernel, op->n_head, at->batch.n_runs, 1, threads, 1, 0, args);
}
#endif
