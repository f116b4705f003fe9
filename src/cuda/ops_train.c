/* cuda/ops_train: the loss and the optimizer. Gradients of the ops of a forward pass stand beside those ops. */
#ifndef HYB_CUDA_OPS_TRAIN_C
#define HYB_CUDA_OPS_TRAIN_C
#include "ops_attention.c"
#include "ops_matmul_back.c"

#ifndef HYBRID_NO_TRAIN

/* As in kernels/train.cu. */
typedef struct hyb_cuda_cross_entropy_args {
    float *logits;
    int64_t stride;
    const int32_t *targets;
    const float *weights;
    double *loss;
    int32_t n;
    float softcap, factor;
} hyb_cuda_cross_entropy_args;

static void hyb_cuda_op_cross_entropy(hyb_cuda_at *at, const hyb_op_cross_entropy *op)
{
    hyb_cuda_cross_entropy_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.logits = op->logits;
    a.stride = op->stride;
    a.targets = op->targets;
    a.weights = op->weights;
    a.loss = op->loss;
    a.n = (int32_t)op->n;
    a.softcap = op->softcap;
    a.factor = op->factor;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_cross_entropy, op->n_rows, 1, 1, 512, 1, 0, args);
}

/* In hyb_cuda_squares_bytes of the scratch. */
static void hyb_cuda_op_squares(hyb_cuda_at *at, const hyb_op_squares *op)
{
    hyb_op_squares o = *op;
    double *parts = (double *)(void *)at->scratch;
    int32_t n_parts = (int32_t)HYB_MIN(hyb_div_up(op->n, 1024), (int64_t)HYB_CUDA_SQUARES_PARTS);
    void *args[3];
    args[0] = &o.x;
    args[1] = &o.n;
    args[2] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &parts;
    args[1] = &n_parts;
    args[2] = &o.sum;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares_sum, 1, 1, 1, 32, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_displace_args {
    float *w, *anchor, *b, *s;
    const float *mean;
    int64_t n;
    float mu, gamma, c_d, c_b, c_s, c_r;
    int32_t takes, moves, goes;
} hyb_cuda_displace_args;

static void hyb_cuda_displace_fill(const hyb_op_displace *op, hyb_cuda_displace_args *a)
{
    memset(a, 0, sizeof *a);
    a->w = op->w;
    a->anchor = op->anchor;
    a->b = op->b;
    a->s = op->s;
    a->mean = op->mean;
    a->n = op->n;
    a->mu = op->mu;
    a->gamma = op->gamma;
    a->c_d = op->c_d;
    a->c_b = op->c_b;
    a->c_s = op->c_s;
    a->c_r = op->c_r;
    a->takes = op->takes;
    a->moves = op->moves;
    a->goes = (int32_t)op->goes;
}

static void hyb_cuda_op_displace(hyb_cuda_at *at, const hyb_op_displace *op)
{
    hyb_cuda_displace_args a;
    void *args[1];
    hyb_cuda_displace_fill(op, &a);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_displace, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_adamw_args {
    float *w, *m, *v;
    const float *grad;
    int64_t n;
    float factor, rate, beta1, beta2, c1, c2, eps, decay;
} hyb_cuda_adamw_args;

static void hyb_cuda_op_adamw(hyb_cuda_at *at, const hyb_op_adamw *op)
{
    const int kernel = op->then ? HYB_KERNEL_adamw_displace : HYB_KERNEL_adamw;
    hyb_cuda_adamw_args a;
    hyb_cuda_displace_args then;
    void *args[2];
    memset(&a, 0, sizeof a);
    a.w = op->w;
    a.m = op->m;
    a.v = op->v;
    a.grad = op->grad;
    a.n = op->n;
    a.factor = op->factor;
    a.rate = op->rate;
    a.beta1 = op->beta1;
    a.beta2 = op->beta2;
    a.c1 = op->c1;
    a.c2 = op->c2;
    a.eps = op->eps;
    a.decay = op->decay;
    if (op->then) hyb_cuda_displace_fill(op->then, &then);
    args[0] = &a;
    args[1] = &then;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, kernel, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_sgd_args {
    float *w, *m;
    const float *grad;
    int64_t n;
    float factor, rate, momentum, decay;
    int32_t nesterov;
} hyb_cuda_sgd_args;

static void hyb_cuda_op_sgd(hyb_cuda_at *at, const hyb_op_sgd *op)
{
    hyb_cuda_sgd_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.w = op->w;
    a.m = op->m;
    a.grad = op->grad;
    a.n = op->n;
    a.factor = op->factor;
    a.rate = op->rate;
    a.momentum = op->momentum;
    a.decay = op->decay;
    a.nesterov = op->nesterov;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_sgd, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_lerp(hyb_cuda_at *at, const hyb_op_lerp *op)
{
    hyb_op_lerp o = *op;
    void *args[5];
    args[0] = &o.a;
    args[1] = &o.b;
    args[2] = &o.n;
    args[3] = &o.t;
    args[4] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_lerp, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_round(hyb_cuda_at *at, const hyb_op_round *op)
{
    hyb_op_round o = *op;
    int32_t bf16 = op->type == HYBRID_TYPE_BF16;
    void *args[4];
    args[0] = &o.x;
    args[1] = &o.n;
    args[2] = &bf16;
    args[3] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_values, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_gram_args {
    const float *a[HYB_GRAM_OF], *b[HYB_GRAM_OF];
    int64_t n;
    double *parts;
} hyb_cuda_gram_args;

/* In the scratch. */
static void hyb_cuda_op_gram(hyb_cuda_at *at, const hyb_op_gram *op)
{
    hyb_cuda_gram_args a;
    double *sums = op->sums;
    int32_t n_parts = (int32_t)HYB_MIN(hyb_div_up(op->n, 1024), (int64_t)HYB_CUDA_SQUARES_PARTS);
    void *args[3];
    memset(&a, 0, sizeof a);
    memcpy(a.a, op->a, sizeof a.a);
    memcpy(a.b, op->b, sizeof a.b);
    a.n = op->n;
    a.parts = (double *)(void *)at->scratch;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_gram, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &a.parts;
    args[1] = &n_parts;
    args[2] = &sums;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_gram_sum, 1, 1, 1, 32, 1, 0, args);
}
#endif
#endif
