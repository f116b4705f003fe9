/* predict/health: how well a run goes, as one number from 0 to 1, and what that recommends.
 *
 *     0.25 sigmoid(-velocity) + 0.15 acceleration + 0.15 (1 - entropy) + 0.25 confidence + 0.20 stability
 *
 * The weights and classes are the ancestor's. What goes in is not: it took the loss and the gradient's norm as they
 * are, so the same run had another health with another loss. Here
 *
 *     velocity      slope of log loss over the last 64 steps, in its own standard errors
 *     acceleration  0.8 where the slope does not change by more than its error, 0.7 where it falls, 0.3 where it rises
 *     entropy       noise of log loss around its line, against a fifth of the loss: 0 to 1
 *     stability     1 / (1 + |log norm of the gradient - its average| / log 2)
 *
 * Recommendations are how long predictions should be (a factor), how many true steps should follow, and a factor of the
 * rate; nothing here carries them out. */
#ifndef HYB_PREDICT_HEALTH_C
#define HYB_PREDICT_HEALTH_C
#include "features.c"

typedef enum hyb_health_class {
    HYB_HEALTH_CRITICAL = 0,
    HYB_HEALTH_POOR,
    HYB_HEALTH_MODERATE,
    HYB_HEALTH_GOOD,
    HYB_HEALTH_EXCELLENT
} hyb_health_class;

typedef struct hyb_health {
    double score, stability;
    hyb_health_class kind;
    double lengthen; /* what predictions should be multiplied by */
    double rate;     /* and the learning rate */
    int32_t full;    /* true steps that should come first; 0: none */
    bool known;      /* false: there is too little to go by, and all is as usual */
} hyb_health;

/* An average of squares around a line gives the standard error of its slope. */
static double hyb_slope_error(const hyb_trend *t, int n)
{
    const double spread = (double)n * ((double)n * (double)n - 1) / 12;
    return HYB_MAX(t->std, 1e-9) / sqrt(spread);
}

static double hyb_health_acceleration(const double *l, int n)
{
    const hyb_trend early = hyb_trend_fit(l, n / 2), late = hyb_trend_fit(l + n / 2, n - n / 2);
    const double change = late.slope - early.slope;
    const double error = hyb_slope_error(&early, n / 2) + hyb_slope_error(&late, n - n / 2);
    return fabs(change) <= 2 * error ? 0.8 : change < 0 ? 0.7 : 0.3;
}

static void hyb_health_recommend(hyb_health *h)
{
    static const double lengthen[] = { 0.5, 0.7, 1, 1.1, 1.2 }, rate[] = { 0.3, 0.5, 1, 1, 1 };
    static const int32_t full[] = { 100, 50, 0, 0, 0 };
    h->kind = h->score >= 0.85   ? HYB_HEALTH_EXCELLENT
              : h->score >= 0.70 ? HYB_HEALTH_GOOD
              : h->score >= 0.50 ? HYB_HEALTH_MODERATE
              : h->score >= 0.30 ? HYB_HEALTH_POOR
                                 : HYB_HEALTH_CRITICAL;
    h->lengthen = lengthen[h->kind];
    h->rate = rate[h->kind];
    h->full = full[h->kind];
}

/* Of a run as its features know it; confidence: that predictions are made with, 0 to 1. */
static hyb_health hyb_health_of(const hyb_features *f, double confidence)
{
    double l[64];
    const int n = hyb_ring_last(f->loss, HYB_LOSS_RING, f->n_loss, 64, l);
    hyb_health h;
    hyb_trend line;
    double velocity, entropy, away;
    memset(&h, 0, sizeof h);
    h.lengthen = h.rate = 1;
    h.score = h.stability = 0.5;
    h.kind = HYB_HEALTH_MODERATE;
    if (n < 32 || !f->n_grad) return h;
    line = hyb_trend_fit(l, n);
    velocity = hyb_clamp(line.slope / hyb_slope_error(&line, n), -30.0, 30.0);
    entropy = hyb_clamp(line.std / 0.2, 0.0, 1.0);
    away = fabs(f->grad[(f->n_grad - 1) % HYB_GRAD_RING] - f->grad_mean);
    h.stability = 1 / (1 + away / log(2.0));
    h.score = 0.25 / (1 + exp(velocity)) + 0.15 * hyb_health_acceleration(l, n) + 0.15 * (1 - entropy) +
              0.25 * hyb_clamp(confidence, 0.0, 1.0) + 0.20 * h.stability;
    h.known = true;
    hyb_health_recommend(&h);
    return h;
}
#endif
