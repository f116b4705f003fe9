/* predict/horizons: how far ahead predictions are good for anything. Of each horizon (1, 2, 4 and 8 windows) the error
 * is held against the error of the simplest guess, that the loss stays as it is:
 *
 *     calibration_h = 1 / (1 + mean |error| / mean |error of the last value|)      1: perfect, 1/2: as good as that
 *
 * overall: the geometric mean. From 0.85 on and with little uncertainty (0.3) a step may be skipped, from 0.7 on it is
 * worth to be verified, else a true one is taken. The ancestor's 1 / (1 + mean |error|) called every error small where
 * the loss was. The furthest horizon that is better than the simplest guess is what a prediction should be limited
 * to. */
#ifndef HYB_PREDICT_HORIZONS_C
#define HYB_PREDICT_HORIZONS_C
#include "features.c"

#define HYB_N_HORIZONS     4
#define HYB_HORIZON_KNOWN  8    /* errors, from which on a horizon is judged */
#define HYB_HORIZON_NEW    0.05 /* of an average, what the newest is */
#define HYB_HORIZON_SKIP   0.85
#define HYB_HORIZON_VERIFY 0.7
#define HYB_HORIZON_UNSURE 0.3
#define HYB_HORIZON_USEFUL 0.9 /* error against the simplest guess's, up to which a horizon is worth anything */

typedef enum hyb_horizon_advice {
    HYB_HORIZON_RUN_FULL = 0,
    HYB_HORIZON_MAY_VERIFY,
    HYB_HORIZON_MAY_SKIP
} hyb_horizon_advice;

typedef struct hyb_horizons {
    double error[HYB_N_HORIZONS], simple[HYB_N_HORIZONS]; /* averages of |error| */
    int64_t n[HYB_N_HORIZONS];
} hyb_horizons;

static void hyb_horizons_init(hyb_horizons *h) { memset(h, 0, sizeof *h); }

/* i: the horizon is 2^i windows. What was predicted, what it was then, what it was when it was predicted: log losses.
 */
static void hyb_horizons_add(hyb_horizons *h, int i, double predicted, double was, double before)
{
    const double error = fabs(was - predicted), simple = fabs(was - before);
    double part;
    if (!hyb_is_finite(error) || !hyb_is_finite(simple)) return;
    part = HYB_MAX(1 / (double)(h->n[i] + 1), HYB_HORIZON_NEW);
    h->error[i] += part * (error - h->error[i]);
    h->simple[i] += part * (simple - h->simple[i]);
    h->n[i]++;
}

static double hyb_horizons_ratio(const hyb_horizons *h, int i)
{
    return h->simple[i] > 0 ? HYB_MIN(h->error[i] / h->simple[i], 1e6) : h->error[i] > 0 ? 1e6 : 0;
}

/* 0: not known yet. */
static double hyb_horizons_calibration(const hyb_horizons *h, int i)
{
    return h->n[i] < HYB_HORIZON_KNOWN ? 0 : 1 / (1 + hyb_horizons_ratio(h, i));
}

/* Of all horizons that are known; 0: none is. */
static double hyb_horizons_overall(const hyb_horizons *h)
{
    double sum = 0;
    int i, n = 0;
    for (i = 0; i < HYB_N_HORIZONS; i++) {
        const double c = hyb_horizons_calibration(h, i);
        if (!(c > 0)) continue;
        sum += log(c);
        n++;
    }
    return n ? exp(sum / n) : 0;
}

static hyb_horizon_advice hyb_horizons_advise(const hyb_horizons *h, double uncertainty)
{
    const double c = hyb_horizons_overall(h);
    if (c >= HYB_HORIZON_SKIP && uncertainty <= HYB_HORIZON_UNSURE) return HYB_HORIZON_MAY_SKIP;
    return c >= HYB_HORIZON_VERIFY ? HYB_HORIZON_MAY_VERIFY : HYB_HORIZON_RUN_FULL;
}

/* Windows up to which every horizon is known to be useful; 0: none is. */
static int hyb_horizons_reach(const hyb_horizons *h)
{
    int i;
    for (i = 0; i < HYB_N_HORIZONS; i++)
        if (h->n[i] < HYB_HORIZON_KNOWN || hyb_horizons_ratio(h, i) > HYB_HORIZON_USEFUL) break;
    return i ? 1 << (i - 1) : 0;
}

static void hyb_horizons_walk(hyb_horizons *h, hyb_byte_walk *w) { HYB_WALK(w, *h); }
#endif
