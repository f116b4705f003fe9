/* predict/features: what the predictor sees of a run: 64 numbers a window, each with mean 0 and deviation 1 over the
 * run so far.
 *
 *     hyb_features_step      every true step: its loss, gradient and rate go into rings and averages
 *     hyb_features_window    every window of some 20 true steps: how the weights moved, and the 64 numbers
 *     hyb_features_judge     when it is known how a prediction went
 *
 * Losses are seen as l = log L, so that all but number 15 stay the same when every loss is multiplied by something.
 * A number that is not known yet (a ring too empty, no moments) is 0, the mean, and does not count for the mean. */
#ifndef HYB_PREDICT_FEATURES_C
#define HYB_PREDICT_FEATURES_C
#include "series.c"
#include "walk.c"

#define HYB_N_FEATURES  64
#define HYB_N_GROUPS    8 /* embeddings, q, k, v, attention's output, feed-forward up, down, head */
#define HYB_LOSS_RING   256
#define HYB_GRAD_RING   64
#define HYB_FEATURE_OLD 0.999    /* of mean and deviation of a feature, what stays after a window */
#define HYB_FEATURE_MAX 5.0      /* deviations */
#define HYB_FEATURE_MIN 1e-3     /* least deviation: what varies less is rounding */
#define HYB_UNKNOWN     (-1e300) /* of a feature; not NaN, which compilers may be told not to expect */
#define HYB_RATE_JUMP   0.1      /* from step to step, of log rate: more is a jump, not a schedule */

typedef enum hyb_phase { HYB_PHASE_WARMUP = 0, HYB_PHASE_FULL, HYB_PHASE_PREDICT, HYB_PHASE_CORRECT } hyb_phase;

/* What a true step showed. Zero stands for what is not known. */
typedef struct hyb_sight {
    double loss;           /* nats per target; what is not finite is passed over */
    double grad_norm;      /* of all gradients, before clipping */
    double rate;           /* learning rate of this step */
    double peak_rate;      /* the largest of the schedule */
    double noise_scale;    /* targets at which the gradient's noise is as large as the gradient (train/noise.c) */
    double batch_tokens;   /* targets of a step */
    double budget;         /* part of the run that is used up, 0 to 1 */
    double cos_moment;     /* between this gradient and the moment before it */
    double cos_gradient;   /* between this gradient and the last one */
    double accumulation;   /* batch of the step / batches of a step */
    int64_t clipped;       /* 1: the gradient was longer than allowed */
    int64_t phase;         /* hyb_phase */
    int64_t phase_step;    /* steps in this phase */
    int64_t since_predict; /* true steps since the last prediction */
    int64_t consecutive;   /* predictions in a row */
} hyb_sight;

/* How the weights moved in a window, in the notation of d, b, s and r: d = what the true steps did, b and s = its fast
 * and slow averages, r = averaged weights - weights. Zero stands for what is not known. */
typedef struct hyb_geometry {
    double weights;                 /* norm of all weights */
    double d, b, r;                 /* norms */
    double step;                    /* norm of the last true step's change */
    double path;                    /* sum of the norms of all true steps' changes in the window */
    double cos_prev, cos_b, cos_s;  /* between d and: the d before, b before it, s before it */
    double hindsight;               /* what times b would have been the best guess of this d: least squares */
    double unexplained;             /* 1 - R^2 of that guess */
    double by_group[HYB_N_GROUPS];  /* hindsight of each group of weights */
    double m_mean, m_std;           /* of |m| the mean, of m the standard deviation (first moments) */
    double v_mean, v_std;           /* of the roots of second moments */
    double bias2;                   /* 1 - beta2^t */
    double law_residual, law_slope; /* l - the fitted law (predict/law.c); the law's slope a window */
} hyb_geometry;

typedef struct hyb_features {
    double loss[HYB_LOSS_RING]; /* l of the last steps */
    double grad[HYB_GRAD_RING]; /* log of the gradients' norms */
    int64_t n_loss, n_grad;     /* that ever went into the rings */
    uint64_t clipped;           /* a bit for each of the last 64 steps */
    int64_t n_steps;
    double fast, med, slow; /* averages of l: 1/4, 1/16, 1/64 of the newest */
    double grad_mean;       /* of log norms, 1/16 of the newest */
    double chance;          /* log of the loss of guessing, ln V; 0: not known */
    double window_rate;     /* rate at the last window */
    int64_t since_jump;     /* steps since the rate jumped */
    hyb_sight last;
    double acceptance, surprise, gain;                    /* averages, 1/10 of the newest */
    int64_t n_judged;                                     /* predictions that went into them */
    double weight[HYB_N_FEATURES];                        /* of all windows, older ones less */
    double mean[HYB_N_FEATURES], squares[HYB_N_FEATURES]; /* decayed Welford */
} hyb_features;

/* chance_loss: of guessing, ln V; 0: not known. */
static void hyb_features_init(hyb_features *f, double chance_loss)
{
    memset(f, 0, sizeof *f);
    if (chance_loss > 0) f->chance = log(chance_loss);
}

/* ---- what goes in ------------------------------------------------------------------------------------------------ */

static void hyb_features_grad(hyb_features *f, double grad_norm)
{
    double g;
    if (!(grad_norm > 0) || !hyb_is_finite(grad_norm)) return;
    g = hyb_clamp(log(grad_norm), -100.0, 100.0);
    f->grad_mean = f->n_grad ? f->grad_mean + (g - f->grad_mean) / 16 : g;
    f->grad[f->n_grad++ % HYB_GRAD_RING] = g;
}

static void hyb_features_step(hyb_features *f, const hyb_sight *sight)
{
    const double rate = f->last.rate;
    if (hyb_is_finite(sight->loss)) {
        const double l = hyb_log_loss(sight->loss);
        const bool first = f->n_loss == 0;
        f->fast = first ? l : f->fast + (l - f->fast) / 4;
        f->med = first ? l : f->med + (l - f->med) / 16;
        f->slow = first ? l : f->slow + (l - f->slow) / 64;
        f->loss[f->n_loss++ % HYB_LOSS_RING] = l;
    }
    hyb_features_grad(f, sight->grad_norm);
    f->clipped = f->clipped << 1 | (sight->clipped ? 1u : 0u);
    f->since_jump++;
    if (f->n_steps++ == 0 || !(rate > 0) || !(sight->rate > 0) || fabs(log(sight->rate / rate)) > HYB_RATE_JUMP)
        f->since_jump = 0;
    f->last = *sight;
}

/* How a prediction went. surprise: (loss - predicted) / its deviation; gain: in steps, what it was worth. */
static void hyb_features_judge(hyb_features *f, bool accepted, double surprise, double gain)
{
    const double part = f->n_judged++ ? 0.1 : 1;
    f->acceptance += part * ((accepted ? 1.0 : 0.0) - f->acceptance);
    if (hyb_is_finite(surprise)) f->surprise += part * (HYB_MIN(fabs(surprise), 100.0) - f->surprise);
    if (hyb_is_finite(gain)) f->gain += part * (hyb_clamp(gain, -1000.0, 1000.0) - f->gain);
}

/* ---- the numbers ------------------------------------------------------------------------------------------------- */

static double hyb_log_or(double a, double b)
{
    if (!(a > 0) || !(b > 0) || !hyb_is_finite(a) || !hyb_is_finite(b)) return HYB_UNKNOWN;
    return hyb_clamp(log(a) - log(b), -50.0, 50.0);
}

/* x, unless it is 0: not known. */
static double hyb_known(double x) { return x != 0 && hyb_is_finite(x) ? hyb_clamp(x, -1e6, 1e6) : HYB_UNKNOWN; }

/* Numbers 0 to 15. */
static void hyb_features_of_loss(const hyb_features *f, const hyb_geometry *g, double *x)
{
    static const int lengths[] = { 16, 64, HYB_LOSS_RING };
    double y[HYB_LOSS_RING];
    int n, i;
    if (f->n_loss == 0) return;
    n = hyb_ring_last(f->loss, HYB_LOSS_RING, f->n_loss, 1, y);
    x[0] = y[n - 1] - f->slow;
    x[1] = f->fast - f->slow;
    x[2] = f->med - f->slow;
    for (i = 0; i < 3; i++) {
        n = hyb_ring_last(f->loss, HYB_LOSS_RING, f->n_loss, lengths[i], y);
        if (n >= 4) x[5 + i] = 1e3 * hyb_trend_fit(y, n).slope;
        if (i == 2 && n >= 8) x[4] = log(HYB_MAX(hyb_trend_fit(y, n).std, 1e-6));
    }
    n = hyb_ring_last(f->loss, HYB_LOSS_RING, f->n_loss, 64, y);
    if (n >= 8) {
        const hyb_trend line = hyb_trend_fit(y, n);
        const double sigma = HYB_MAX(line.std, 1e-6);
        x[8] = 1e3 * (hyb_trend_fit(y + n / 2, n - n / 2).slope - hyb_trend_fit(y, n / 2).slope);
        x[11] = line.last / sigma;
        x[13] = line.lag1;
        x[14] = hyb_draw_up(y, n) / sigma;
    }
    n = hyb_ring_last(f->loss, HYB_LOSS_RING, f->n_loss, 32, y);
    if (n >= 8) {
        x[3] = log(HYB_MAX(hyb_trend_fit(y, n).std, 1e-6));
        x[12] = hyb_turning(y, n) - 2.0 / 3.0;
    }
    x[9] = g->law_residual != 0 ? 10 * hyb_known(g->law_residual) : HYB_UNKNOWN;
    x[10] = hyb_known(g->law_slope);
    if (f->chance != 0) x[15] = f->slow - f->chance;
}

/* Numbers 16 to 23. */
static void hyb_features_of_grad(const hyb_features *f, double *x)
{
    const int steps = (int)HYB_MIN(f->n_steps, (int64_t)64);
    double y[HYB_GRAD_RING], sum = 0, squares = 0;
    int n = hyb_ring_last(f->grad, HYB_GRAD_RING, f->n_grad, HYB_GRAD_RING, y), i, clipped = 0;
    if (n) {
        x[16] = y[n - 1];
        x[17] = y[n - 1] - f->grad_mean;
    }
    if (n >= 8) {
        x[19] = 1e3 * hyb_trend_fit(y, n).slope;
        for (i = 0; i < n; i++) sum += exp(y[i] - f->grad_mean);
        for (i = 0; i < n; i++) squares += (exp(y[i] - f->grad_mean) - sum / n) * (exp(y[i] - f->grad_mean) - sum / n);
        x[18] = HYB_MIN(sqrt(squares / n) / (sum / n), 100.0);
    }
    for (i = 0; i < steps; i++) clipped += (int)(f->clipped >> i & 1);
    if (steps) x[20] = (double)clipped / steps;
    x[21] = hyb_log_or(f->last.noise_scale, f->last.batch_tokens);
    x[22] = hyb_known(f->last.cos_moment);
    x[23] = hyb_known(f->last.cos_gradient);
}

/* Numbers 24 to 51. */
static void hyb_features_of_weights(const hyb_features *f, const hyb_geometry *g, double *x)
{
    int i;
    x[24] = hyb_log_or(g->step, g->weights);
    x[25] = hyb_log_or(g->d, g->weights);
    x[26] = hyb_log_or(g->b, g->weights);
    x[27] = hyb_known(g->cos_prev);
    x[28] = hyb_known(g->cos_b);
    x[29] = hyb_known(g->cos_s);
    if (g->path > 0 && g->d > 0) x[30] = hyb_known(g->d / g->path);
    x[31] = hyb_log_or(g->r, g->d);
    x[32] = hyb_known(g->hindsight);
    if (g->hindsight != 0 && hyb_is_finite(g->unexplained)) x[33] = HYB_MIN(g->unexplained, 1e6);
    for (i = 0; i < HYB_N_GROUPS; i++) x[34 + i] = hyb_known(g->by_group[i]);
    x[42] = hyb_log_or(f->last.rate, 1);
    if (f->last.peak_rate > 0) x[43] = hyb_known(f->last.rate / f->last.peak_rate);
    x[44] = hyb_log_or(f->last.rate, f->window_rate);
    if (f->n_steps) x[45] = hyb_clamp(f->last.budget, 0.0, 1.0);
    if (f->n_steps) x[46] = log(1 + (double)f->since_jump);
    x[47] = hyb_log_or(g->m_mean, 1);
    x[48] = hyb_log_or(g->m_std, 1);
    x[49] = hyb_log_or(g->v_mean, 1);
    x[50] = hyb_log_or(g->v_std, 1);
    x[51] = hyb_known(g->bias2);
}

/* Numbers 52 to 63. */
static void hyb_features_of_run(const hyb_features *f, double *x)
{
    int i;
    for (i = 0; i < 4; i++) x[52 + i] = f->last.phase == i ? 1 : 0;
    if (f->n_steps) {
        x[56] = (double)f->last.phase_step / 100;
        x[57] = (double)f->last.since_predict / 100;
        x[58] = (double)f->last.consecutive / 5;
        x[59] = hyb_clamp(f->last.accumulation, 0.0, 1.0);
    }
    if (f->n_judged) {
        x[60] = f->acceptance;
        x[61] = f->surprise;
        x[62] = f->gain;
    }
    x[63] = 1;
}

/* Which phase it is, and the 1: they are not standardised, which would make 0 of what never changes. */
static bool hyb_feature_is_plain(int i) { return (i >= 52 && i < 56) || i == 63; }

/* What x is, by the mean and the deviation of all windows until now, this one included. */
static double hyb_feature_standard(hyb_features *f, int i, double x)
{
    const double before = x - f->mean[i];
    double std;
    f->weight[i] = HYB_FEATURE_OLD * f->weight[i] + 1;
    f->mean[i] += before / f->weight[i];
    f->squares[i] = HYB_FEATURE_OLD * f->squares[i] + before * (x - f->mean[i]);
    std = sqrt(HYB_MAX(f->squares[i] / f->weight[i], 0.0));
    x = (x - f->mean[i]) / HYB_MAX(std, HYB_FEATURE_MIN);
    return hyb_clamp(x, -HYB_FEATURE_MAX, HYB_FEATURE_MAX);
}

/* The numbers themselves, HYB_UNKNOWN among them. */
static void hyb_features_raw(const hyb_features *f, const hyb_geometry *geometry, double raw[HYB_N_FEATURES])
{
    int i;
    for (i = 0; i < HYB_N_FEATURES; i++) raw[i] = HYB_UNKNOWN;
    hyb_features_of_loss(f, geometry, raw);
    hyb_features_of_grad(f, raw);
    hyb_features_of_weights(f, geometry, raw);
    hyb_features_of_run(f, raw);
}

static void hyb_features_window(hyb_features *f, const hyb_geometry *geometry, float x[HYB_N_FEATURES])
{
    double raw[HYB_N_FEATURES];
    int i;
    hyb_features_raw(f, geometry, raw);
    for (i = 0; i < HYB_N_FEATURES; i++) {
        if (hyb_feature_is_plain(i))
            x[i] = (float)raw[i];
        else if (!hyb_is_finite(raw[i]))
            x[i] = 0;
        else
            x[i] = (float)hyb_feature_standard(f, i, raw[i]);
    }
    f->window_rate = f->last.rate;
}

static void hyb_features_walk(hyb_features *f, hyb_byte_walk *w)
{
    hyb_walk_same(w, HYB_N_FEATURES);
    HYB_WALK(w, *f);
    if (w->reads && (f->n_loss < 0 || f->n_grad < 0 || f->n_steps < 0 || f->n_judged < 0)) w->failed = true;
}
#endif
