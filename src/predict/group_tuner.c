/* predict/group_tuner: gradients of groups of weights that are out of proportion (adaptive gradient clipping, Brock et
 * al. 2021): a group's gradient should be shortened to lambda times the norm of its weights. Averages over about a
 * hundred steps say how often that would be, and how large gradients of a group usually are against its weights.
 *
 * The ancestor also had ranges of norms that were right for a gradient at the beginning, in the middle and at the end
 * of a run; a norm by itself says nothing of another model, so there are none here. */
#ifndef HYB_PREDICT_GROUP_TUNER_C
#define HYB_PREDICT_GROUP_TUNER_C
#include "features.c"

#define HYB_GROUP_LAMBDA 0.04
#define HYB_GROUP_NEW    0.01 /* of an average, what the newest step is */
#define HYB_GROUP_FLOOR  1e-3 /* least norm of weights that counts: those that begin at 0 may move */

typedef struct hyb_group_tuner {
    double lambda;
    double ratio[HYB_N_GROUPS];   /* averages of log(norm of the gradient / norm of the weights) */
    double clipped[HYB_N_GROUPS]; /* averages of how often it was too long */
    double scale[HYB_N_GROUPS];   /* of the last step: what the gradient should be multiplied by, at most 1 */
    int64_t n[HYB_N_GROUPS];
} hyb_group_tuner;

/* lambda 0: the default. */
static void hyb_group_tuner_init(hyb_group_tuner *t, double lambda)
{
    int g;
    memset(t, 0, sizeof *t);
    t->lambda = lambda > 0 ? lambda : HYB_GROUP_LAMBDA;
    for (g = 0; g < HYB_N_GROUPS; g++) t->scale[g] = 1;
}

/* What the gradient of a group should be multiplied by in this step; 1 where the norms are not numbers. */
static double hyb_group_tuner_step(hyb_group_tuner *t, int group, double grad_norm, double weight_norm)
{
    const double most = t->lambda * HYB_MAX(weight_norm, HYB_GROUP_FLOOR);
    double part;
    t->scale[group] = 1;
    if (!(grad_norm > 0) || !hyb_is_finite(grad_norm) || !hyb_is_finite(weight_norm)) return 1;
    if (grad_norm > most) t->scale[group] = most / grad_norm;
    part = HYB_MAX(1 / (double)(t->n[group] + 1), HYB_GROUP_NEW);
    t->ratio[group] += part * (log(grad_norm / HYB_MAX(weight_norm, HYB_GROUP_FLOOR)) - t->ratio[group]);
    t->clipped[group] += part * ((t->scale[group] < 1 ? 1.0 : 0.0) - t->clipped[group]);
    t->n[group]++;
    return t->scale[group];
}

static void hyb_group_tuner_walk(hyb_group_tuner *t, hyb_byte_walk *w)
{
    HYB_WALK(w, t->ratio);
    HYB_WALK(w, t->clipped);
    HYB_WALK(w, t->scale);
    HYB_WALK(w, t->n);
}
#endif
