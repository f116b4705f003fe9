/* predict/loss_corrector: what a predicted loss gets wrong again and again: first what a linear model of the features,
 * which learns from every residual, says of it, and then what that model gets wrong in similar places (the store of
 * residuals).
 *
 *     linear     = w x + b      normalized least mean squares: of every error b takes up 1/10, and w x as much,
 * whatever the size of x local      = the sum of w_i (residual_i - linear_i) / (1 + the sum of w_i)      over the ten
 * most similar w_i        = 0.95^(steps ago / 100) confidence_i max(cosine_i, 0) correction = linear + local, at most a
 * fifth of the loss
 *
 * The 1 beside the weights pulls local to 0 where little is known. The ancestor took 0.7 of what was similar and 0.3 of
 * its linear model, which leaves some of a constant error for ever, and made corrections up to 1.5 times as large where
 * residuals are large, which takes away too much of it. Residuals are those of the prediction without the correction,
 * so it does not learn from itself. */
#ifndef HYB_PREDICT_LOSS_CORRECTOR_C
#define HYB_PREDICT_LOSS_CORRECTOR_C
#include "residuals.c"

#define HYB_LOSS_SIMILAR    10
#define HYB_LOSS_DECAY      0.95 /* weight of a residual, for each 100 steps that it is old */
#define HYB_LOSS_RATE       0.1
#define HYB_LOSS_LEAK       1e-3
#define HYB_LOSS_CORRECT    0.2 /* of the loss: the largest correction */
#define HYB_LOSS_RESIDUAL   5.0 /* nats: residuals are cut off here */
#define HYB_LOSS_KNOWS_FROM 5   /* similar ones, from which on the confidence is high */

typedef struct hyb_loss_corrector {
    double w[HYB_N_FEATURES], b;
    double mean; /* of |residual|, 1/10 of the newest */
    int64_t n;
} hyb_loss_corrector;

typedef struct hyb_loss_correction {
    double loss;       /* nats, to be added to the prediction */
    double confidence; /* 0: nothing is known; 0.5; 0.9 with five similar residuals */
} hyb_loss_correction;

static void hyb_loss_corrector_init(hyb_loss_corrector *c) { memset(c, 0, sizeof *c); }

static double hyb_loss_corrector_linear(const hyb_loss_corrector *c, const float x[HYB_N_FEATURES])
{
    double sum = c->b;
    int i;
    for (i = 0; i < HYB_N_FEATURES; i++) sum += c->w[i] * (double)x[i];
    return sum;
}

/* From a residual that the store has taken. */
static void hyb_loss_corrector_learn(hyb_loss_corrector *c, const hyb_residual *r)
{
    const double loss = hyb_clamp(r->loss, -HYB_LOSS_RESIDUAL, HYB_LOSS_RESIDUAL);
    const double error = loss - hyb_loss_corrector_linear(c, r->features);
    double squares = 1, step;
    int i;
    if (!hyb_residual_finite(r)) return;
    for (i = 0; i < HYB_N_FEATURES; i++) squares += (double)r->features[i] * (double)r->features[i];
    step = HYB_LOSS_RATE * error / squares;
    for (i = 0; i < HYB_N_FEATURES; i++) c->w[i] = (1 - HYB_LOSS_LEAK) * c->w[i] + step * (double)r->features[i];
    c->b += HYB_LOSS_RATE * error;
    c->mean = c->n++ ? c->mean + (fabs(loss) - c->mean) / 10 : fabs(loss);
}

/* Of a prediction that is made at this step from these features. */
static hyb_loss_correction hyb_loss_corrector_of(const hyb_loss_corrector *c, const hyb_residuals *s,
                                                 const float features[HYB_N_FEATURES], int64_t step, double predicted)
{
    const double most = HYB_LOSS_CORRECT * fabs(predicted);
    hyb_similar similar[HYB_LOSS_SIMILAR];
    hyb_loss_correction out;
    double weights = 1, sum = 0;
    int n, i;
    out.loss = out.confidence = 0;
    if (!c->n || !hyb_is_finite(predicted) || !hyb_floats_finite(features, HYB_N_FEATURES)) return out;
    n = hyb_residuals_similar(s, features, HYB_LOSS_SIMILAR, similar);
    for (i = 0; i < n; i++) {
        const hyb_residual *r = similar[i].residual;
        const double ago = (double)HYB_MAX(step - r->step, (int64_t)0) / 100;
        const double w = pow(HYB_LOSS_DECAY, ago) * r->confidence * HYB_MAX(similar[i].cosine, 0.0);
        weights += w;
        sum +=
            w * (hyb_clamp(r->loss, -HYB_LOSS_RESIDUAL, HYB_LOSS_RESIDUAL) - hyb_loss_corrector_linear(c, r->features));
    }
    sum = sum / weights + hyb_loss_corrector_linear(c, features);
    out.loss = hyb_clamp(sum, -most, most);
    out.confidence = n >= HYB_LOSS_KNOWS_FROM ? 0.9 : 0.5;
    return out;
}

static void hyb_loss_corrector_walk(hyb_loss_corrector *c, hyb_byte_walk *w)
{
    HYB_WALK(w, c->w);
    HYB_WALK(w, c->b);
    HYB_WALK(w, c->mean);
    HYB_WALK(w, c->n);
}
#endif
