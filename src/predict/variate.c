/* predict/variate: what losses tell of gradients (mode D). Of a step's n batches the first few go back; of all of them
 * the losses l are known. With P a direction that is known before the step, the step's gradient is
 *
 *     g = mean of g_i over those that went back + k (mean of l over all - mean of l over those) P
 *
 * a control variate. Both means of l have the same expectation, and k and P are of before the step, so that g has the
 * expectation of a gradient whatever k is, and the least variance with k the slope of y_i = <g_i, P> / <P, P> on l_i.
 * That is the running regression over batches that went back, with
 *
 *     x_i = l_i - mean of l over all of its step     y_i less its mean of late
 *
 * since losses fall from step to step, and what they have in common with gradients by that says nothing of one step's
 * batches. The slope is shortened by what its standard error leaves in doubt, to 0 below two of these. */
#ifndef HYB_PREDICT_VARIATE_C
#define HYB_PREDICT_VARIATE_C
#include "../core/base.c"
#include "series.c"

#define HYB_VARIATE_KEEP  (1 - 1.0 / 512) /* of what is known, with each batch */
#define HYB_VARIATE_MEAN  (1.0 / 32)      /* of the mean of y, with each step */
#define HYB_VARIATE_LEAST 16              /* batches before there is a slope */

/* Numbers alone, without holes: a checkpoint has them as they are. */
typedef struct hyb_variate {
    double mean;               /* of y */
    double n, n_squares;       /* weights of batches, and their squares */
    double xx, xy, yy;         /* sums */
    double k;                  /* of the next step */
    double before, after;      /* squares of y, and of y - k x with the k of before x was seen */
    double along;              /* squares of y |P|: of gradients, along P */
    double noise;              /* of gradients in all directions */
    int64_t n_back, n_forward; /* batches that went back, and that did not */
    int64_t n_steps, rest;     /* steps that were seen; that come and are not split */
} hyb_variate;

/* Sums over the batches of a step. */
typedef struct hyb_variate_step {
    double dot, squares;          /* <G, P> of the gradients so far; <P, P> */
    double measured;              /* <G, P> as it was measured last */
    double n, l, ll, y, ly, yy;   /* of those that went back */
    double weight, weighted;      /* of their targets; times their losses */
    double all, all_weighted;     /* the same of all batches */
    double n_all, targets, scale; /* of gradients: fp16's */
} hyb_variate_step;

/* A batch, with the weight of its targets and its mean loss. */
static void hyb_variate_count(hyb_variate_step *s, double weight, double loss, double n_counted)
{
    s->all += weight;
    s->all_weighted += weight * loss;
    s->targets += n_counted;
    s->n_all++;
}

/* It went back; part: of the weight of all that do. Gradients have the factor scale. */
static void hyb_variate_back(hyb_variate_step *s, double weight, double loss, double part, double scale)
{
    const double own = s->measured - s->dot, y = s->squares > 0 ? own / (part * scale * s->squares) : 0;
    s->dot = s->measured;
    s->n++;
    s->l += loss;
    s->ll += loss * loss;
    s->y += y;
    s->ly += loss * y;
    s->yy += y * y;
    s->weight += weight;
    s->weighted += weight * loss;
}

/* Of P, that is added to the mean of gradients. */
static double hyb_variate_factor(const hyb_variate *v, const hyb_variate_step *s)
{
    double off;
    if (!(s->weight > 0) || !(s->n < s->n_all)) return 0;
    off = s->all_weighted / s->all - s->weighted / s->weight;
    return hyb_is_finite(off) ? v->k * off : 0;
}

static double hyb_variate_correlation(const hyb_variate *v)
{
    return v->xx * v->yy > 0 ? v->xy / sqrt(v->xx * v->yy) : 0;
}

/* The slope, as far as it is beyond doubt. */
static double hyb_variate_slope(const hyb_variate *v)
{
    const double n = v->n_squares > 0 ? v->n * v->n / v->n_squares : 0; /* batches that would weigh the same */
    double slope, noise;
    if (n < HYB_VARIATE_LEAST || !(v->xx > 0)) return 0;
    slope = v->xy / v->xx;
    noise = HYB_MAX(v->yy - slope * v->xy, 0.0) / v->n * n / (n - 2); /* of y about the line */
    noise *= v->n_squares / (v->n * v->xx);                           /* of the slope */
    return slope * slope > 4 * noise ? slope * (1 - 4 * noise / (slope * slope)) : 0;
}

/* A step was taken. noise: of the gradient of one target, as it is known. What is not finite is left out. */
static void hyb_variate_learn(hyb_variate *v, const hyb_variate_step *s, double noise)
{
    const double keep = pow(HYB_VARIATE_KEEP, s->n), mean = s->all > 0 ? s->all_weighted / s->all : 0;
    const double x = s->l - s->n * mean, xx = s->ll - 2 * mean * s->l + s->n * mean * mean;
    const double yy = s->yy - 2 * v->mean * s->y + s->n * v->mean * v->mean;
    const double xy = s->ly - mean * s->y - v->mean * x;
    v->n_back += (int64_t)s->n;
    v->n_forward += (int64_t)(s->n_all - s->n);
    if (v->rest > 0) v->rest--;
    if (!(s->n > 0) || !(s->squares > 0) || !hyb_is_finite(xx) || !hyb_is_finite(yy) || !hyb_is_finite(xy)) return;
    if (v->n_steps++) { /* of the first step y has no mean to be held against */
        v->n = keep * v->n + s->n;
        v->n_squares = keep * keep * v->n_squares + s->n;
        v->xx = keep * v->xx + xx;
        v->xy = keep * v->xy + xy;
        v->yy = keep * v->yy + yy;
        v->before = keep * v->before + yy;
        v->after = keep * v->after + yy - 2 * v->k * xy + v->k * v->k * xx;
        v->along = keep * v->along + yy * s->squares;
        v->noise = keep * v->noise + s->n * noise * s->n_all / s->targets;
    }
    v->mean += HYB_MAX(HYB_VARIATE_MEAN, 1.0 / (double)v->n_steps) * (s->y / s->n - v->mean);
    v->k = hyb_variate_slope(v);
}

/* What was learnt begins anew; what was done stays. */
static void hyb_variate_forget(hyb_variate *v)
{
    const int64_t n_back = v->n_back, n_forward = v->n_forward, rest = v->rest;
    memset(v, 0, sizeof *v);
    v->n_back = n_back;
    v->n_forward = n_forward;
    v->rest = rest;
}
#endif
