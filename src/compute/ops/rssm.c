/* compute/ops/rssm: a step of learning of the predictor's world models (predict/world.c): recurrent state space models
 * (Hafner et al. 2019) that run over windows of ticks, and their gradients back through time, for all members of an
 * ensemble at once. The sizes here are those of the models; what they mean is said where they are computed, in
 * cpu/rssm/, and by predict/member.c. */
#ifndef HYB_COMPUTE_OPS_RSSM_C
#define HYB_COMPUTE_OPS_RSSM_C
#include "batch.c"

#ifndef HYBRID_NO_TRAIN
/* ---- sizes; as in kernels/rssm.cu -------------------------------------------------------------------------------- */

enum {
    HYB_PANEL_WINDOWS = 16, /* columns of a tick */
    HYB_PANEL_TICKS = 16,
    HYB_PANEL_ROW = (HYB_PANEL_TICKS + 1) * HYB_PANEL_WINDOWS /* floats from one row to the next */
};
enum { HYB_LATENT_CHOICES = 4, HYB_LATENT_CLASSES = 8, HYB_LATENT = HYB_LATENT_CHOICES * HYB_LATENT_CLASSES };
enum {
    HYB_WORLD_FEATURES = 64,
    HYB_WORLD_ACTION = 6, /* log2 H, log2 I, three coefficients, whether it predicts */
    HYB_WORLD_INPUTS = HYB_WORLD_FEATURES + HYB_WORLD_ACTION,
    HYB_WORLD_UNITS = 128 /* of each layer, and of the state */
};
enum { HYB_HORIZONS = 4 };
enum {
    HYB_DELTA_GROUPS = 8,
    HYB_DELTA_DIRECTIONS = 3, /* d, b, r */
    HYB_DELTA_GRAM = 6,       /* of three directions: dd, db, dr, bb, br, rr */
    HYB_DELTA_OUTPUTS = 12,
    HYB_HEAD_MEAN = 0,
    HYB_HEAD_DELTA = HYB_HORIZONS,
    HYB_HEAD_GAIN = HYB_HEAD_DELTA + HYB_DELTA_OUTPUTS,
    HYB_HEAD_OK,
    HYB_HEAD_SIGMA, /* from here on: deviations */
    HYB_HEAD_GAIN_SIGMA = HYB_HEAD_SIGMA + HYB_HORIZONS,
    HYB_HEADS
};

    /* X(name, rows, columns, the column of the bias or -1). */
    /* clang-format off */
#define HYB_MEMBER_WEIGHTS(X) \
    X(encoder,    HYB_WORLD_UNITS,     HYB_WORLD_INPUTS + 1,             HYB_WORLD_INPUTS)  /* [x; 1] */ \
    X(norm,       2,                   HYB_WORLD_UNITS,                  -1)                /* factors, then terms */ \
    X(gru_w,      3 * HYB_WORLD_UNITS, HYB_WORLD_UNITS + 1 + HYB_LATENT, HYB_WORLD_UNITS)   /* [e; 1; z] */ \
    X(gru_u,      3 * HYB_WORLD_UNITS, HYB_WORLD_UNITS,                  -1)                /* h */ \
    X(posterior,  HYB_WORLD_UNITS,     2 * HYB_WORLD_UNITS + 1,          HYB_WORLD_UNITS)   /* [e; 1; h] */ \
    X(posterior2, HYB_LATENT,          HYB_WORLD_UNITS + 1,              HYB_WORLD_UNITS) \
    X(prior,      HYB_WORLD_UNITS,     HYB_WORLD_UNITS + 1,              HYB_WORLD_UNITS)   /* [h; 1] */ \
    X(prior2,     HYB_LATENT,          HYB_WORLD_UNITS + 1,              HYB_WORLD_UNITS) \
    X(trunk,      HYB_WORLD_UNITS,     HYB_WORLD_UNITS + 1 + HYB_LATENT, HYB_WORLD_UNITS)   /* [h'; 1; z] */ \
    X(head,       HYB_HEADS,           HYB_WORLD_UNITS + 2,              HYB_WORLD_UNITS)   /* [t; 1; r] */
/* clang-format on */

enum {
    HYB_MEMBER_BEGIN_ = -1,
    /* clang-format off */
#define HYB_WEIGHT(name_, rows_, columns_, bias_) \
    HYB_AT_##name_, HYB_AT_END_##name_ = HYB_AT_##name_ + (rows_) * (columns_) - 1,
    HYB_MEMBER_WEIGHTS(HYB_WEIGHT)
#undef HYB_WEIGHT
    /* clang-format on */
    HYB_MEMBER_SIZE
};
/* Floats from one member to the next. */
enum { HYB_MEMBER_ROOM = (HYB_MEMBER_SIZE + 15) / 16 * 16 };

/* ---- what members are taught ------------------------------------------------------------------------------------- */

/* Sums over ticks, and what they make. */
typedef struct hyb_trust {
    double n[HYB_HORIZONS], oo[HYB_HORIZONS], or_[HYB_HORIZONS], rr[HYB_HORIZONS], oy[HYB_HORIZONS], ry[HYB_HORIZONS];
    double a[HYB_HORIZONS], b[HYB_HORIZONS];
} hyb_trust;

/* What is known of a tick; what is not has its bit clear. */
typedef struct hyb_heads_labels {
    unsigned has_loss; /* bit h: of horizon h */
    bool has_delta, has_gain, has_ok;
    float y[HYB_HORIZONS]; /* in units, as mu */
    float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS], gram[HYB_DELTA_GROUPS][HYB_DELTA_GRAM];
    float gain; /* in HYB_GAIN_UNIT steps */
    bool ok;
} hyb_heads_labels;

/* The parts of a loss, summed over ticks: each is what its label cost. Those of one role (hyb_role) only. */
typedef struct hyb_world_loss {
    double nll[HYB_HORIZONS], delta, gain, ok, kl;
    double n_nll[HYB_HORIZONS], n_delta, n_gain, n_ok, n_ticks; /* how many there were */
} hyb_world_loss;

/* What a tick is to a member. */
typedef enum hyb_role {
    HYB_ROLE_NONE,   /* it does not count */
    HYB_ROLE_TAUGHT, /* all but the deviations learn from it */
    HYB_ROLE_HELD    /* only the deviations do */
} hyb_role;

/* How much a tick counts for what it teaches, and for the KL. */
typedef struct hyb_share {
    hyb_role role;
    float weight, kl;
} hyb_share;

    /* ---- what a run works in
     * ----------------------------------------------------------------------------------------- */

    /* Panels of a rollout, X(name, rows). Where the last row is said to be 1, it is the input of the biases. */
    /* clang-format off */
#define HYB_ROLLOUT_PANELS(X) \
    X(x,          HYB_WORLD_INPUTS + 1)             /* [x; 1] */ \
    X(normed,     HYB_WORLD_UNITS)                  /* encoder x, of mean 0 and variance 1 */ \
    X(deviation,  1)                                /* 1 / the deviation that it had */ \
    X(encoded,    HYB_WORLD_UNITS)                  /* before SiLU */ \
    X(in,         HYB_WORLD_UNITS + 1 + HYB_LATENT) /* [e; 1; z] */ \
    X(gates,      3 * HYB_WORLD_UNITS) \
    X(rh,         HYB_WORLD_UNITS) \
    X(h,          HYB_WORLD_UNITS + 1)              /* [h; 1], from before tick 0 to after the last */ \
    X(post,       HYB_WORLD_UNITS)                  /* before SiLU */ \
    X(post_act,   HYB_WORLD_UNITS + 1)              /* [post; 1] */ \
    X(q_soft,     HYB_LATENT) \
    X(q,          HYB_LATENT) \
    X(pri,        HYB_WORLD_UNITS) \
    X(pri_act,    HYB_WORLD_UNITS + 1) \
    X(p_soft,     HYB_LATENT) \
    X(p,          HYB_LATENT) \
    X(trunk,      HYB_WORLD_UNITS) \
    X(trunk_act,  HYB_WORLD_UNITS + 2)              /* [t; 1; r] */ \
    X(out,        HYB_HEADS) \
    X(d_out,      HYB_HEADS)                        /* gradients */ \
    X(d_trunk,    HYB_WORLD_UNITS) \
    X(d_h,        HYB_WORLD_UNITS) \
    X(d_gates,    3 * HYB_WORLD_UNITS) \
    X(d_rh,       HYB_WORLD_UNITS) \
    X(d_in,       HYB_WORLD_UNITS + 1 + HYB_LATENT) \
    X(d_q,        HYB_LATENT)                       /* of q, and then of its logits */ \
    X(d_post,     HYB_WORLD_UNITS) \
    X(d_p,        HYB_LATENT) \
    X(d_pri,      HYB_WORLD_UNITS)
/* clang-format on */

enum {
    #define HYB_PANEL(name_, rows_) +(rows_)
    HYB_ROLLOUT_ROWS = 0 HYB_ROLLOUT_PANELS(HYB_PANEL),
    #undef HYB_PANEL
    HYB_ROLLOUT_FLOATS = HYB_ROLLOUT_ROWS * HYB_PANEL_ROW
};

/* ---- the op ------------------------------------------------------------------------------------------------------ */

/* Each member runs over `windows` windows of `ticks` ticks, from states of zeros; column t * windows + i is tick t of
 * window i. Then its gradients go back through all ticks:
 *
 *   gradients = of the sum over columns of weight * (what its labels cost) + kl * (the balanced KL)
 *   taught, held: what the labels of ticks of either role cost, and the KL, summed, added to what is there
 *   trusts: the sums grow by what ticks that are held back have shown; a and b are read
 *
 * random: 32 bits for each choice of z, so that what is drawn does not depend on the back end. What was near a bound (a
 * choice, one nat of the KL) may fall on its other side there. */
typedef struct hyb_op_rssm {
    int n_members, ticks, windows; /* at most HYB_PANEL_TICKS, HYB_PANEL_WINDOWS */
    const float *weights;          /* (n_members, HYB_MEMBER_ROOM) */
    const float *x;                /* (HYB_WORLD_INPUTS + 1, HYB_PANEL_ROW): inputs, and the misses of the law */
    const uint32_t (*random)[HYB_LATENT_CHOICES]; /* (n_members, HYB_PANEL_ROW) */
    const hyb_heads_labels *labels;               /* (HYB_PANEL_ROW) */
    const hyb_share *shares;                      /* (n_members, HYB_PANEL_ROW) */
    hyb_trust *trusts;                            /* (n_members) */
    hyb_world_loss *taught, *held;                /* (n_members) */
    float *gradients;                             /* (n_members, HYB_MEMBER_ROOM) */
    float *work; /* (n_members, HYB_ROLLOUT_FLOATS): it has no meaning outside of the op */
} hyb_op_rssm;
HYB_INLINE double hyb_bytes_rssm(const hyb_op_rssm *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n_members * (2.0 * HYB_MEMBER_ROOM + (double)HYB_ROLLOUT_ROWS * op->ticks * op->windows);
}
#endif
#endif
