/* cuda/ops_rssm: a step of learning of the predictor's world models (compute/ops/rssm.c), all members in one launch. */
#ifndef HYB_CUDA_OPS_RSSM_C
#define HYB_CUDA_OPS_RSSM_C
#include "../compute/op.c"
#include "ops.c"

/* clang-format off */
#define HYB_CUDA_KERNELS_RSSM(X) X(rssm)
/* clang-format on */
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_RSSM(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RSSM };
#undef HYB_KERNEL_NUMBER

#ifndef HYBRID_NO_TRAIN

/* As in kernels/rssm.cu. */
typedef struct hyb_cuda_rssm_args {
    int32_t ticks, windows;
    const float *weights, *x;
    const uint32_t (*random)[HYB_LATENT_CHOICES];
    const hyb_heads_labels *labels;
    const hyb_share *shares;
    hyb_trust *trusts;
    hyb_world_loss *taught, *held;
    float *gradients, *work;
} hyb_cuda_rssm_args;

static void hyb_cuda_op_rssm(hyb_cuda_at *at, const hyb_op_rssm *op)
{
    hyb_cuda_rssm_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.ticks = op->ticks;
    a.windows = op->windows;
    a.weights = op->weights;
    a.x = op->x;
    a.random = op->random;
    a.labels = op->labels;
    a.shares = op->shares;
    a.trusts = op->trusts;
    a.taught = op->taught;
    a.held = op->held;
    a.gradients = op->gradients;
    a.work = op->work;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RSSM, HYB_KERNEL_rssm, op->n_members, 1, 1, 256, 1, 0, args);
}
#endif
#endif
