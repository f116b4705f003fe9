/* predict/corrector: takes away what predicted coefficients get wrong again and again. For every group of weights, and
 * with phi = (1, some features),
 *
 *     c = c + B phi        B (directions, phi) by recursive least squares on (best c in hindsight - c), the older ones
 *                          counting 0.99 as much for each that is newer
 *
 *     k = P phi / (0.99 + phi^T P phi)        B += (e - B phi) k^T        P = (P - k phi^T P) / 0.99
 *
 * Four things keep it bounded whatever it is given: errors and features are cut off; where nothing new is seen P does
 * not grow (forgetting stops at HYB_RLS_MOST); a correction is at most HYB_CORRECT_MOST; and corrected coefficients
 * stay in the range that predictions have. It says nothing until it has seen HYB_RLS_QUIET episodes, and comes in over
 * as many: with one of them it would fit noise.
 *
 * Best in hindsight is what would have predicted the next window best, which is not what makes the loss fall most: the
 * caller says how much of a correction it wants (strength), and audits judge that. */
#ifndef HYB_PREDICT_CORRECTOR_C
#define HYB_PREDICT_CORRECTOR_C
#include "features.c"
#include "fit.c"

#define HYB_N_PHI        9
#define HYB_RLS_KEEP     0.99
#define HYB_RLS_FIRST    1.0 /* P at the beginning, times one: how far from 0 B is expected to be, squared over noise */
#define HYB_RLS_MOST     10.0 /* largest element of P's diagonal with which forgetting goes on */
#define HYB_RLS_ERROR    1.0  /* errors are cut off here */
#define HYB_RLS_QUIET    4
#define HYB_CORRECT_MOST 0.35

typedef struct hyb_corrector {
    double b[HYB_N_GROUPS][HYB_N_DIRECTIONS][HYB_N_PHI];
    double p[HYB_N_GROUPS][HYB_N_PHI][HYB_N_PHI];
    int64_t n[HYB_N_GROUPS];     /* episodes that a group learnt from */
    int64_t refused;             /* that were no numbers */
    double before[HYB_N_GROUPS]; /* averages (1/10 of the newest) of |c* - c|^2, uncorrected */
    double after[HYB_N_GROUPS];  /* the same with the correction that would have been made: is it worth it? */
} hyb_corrector;

static void hyb_corrector_reset(hyb_corrector *r, int group)
{
    int i;
    memset(r->p[group], 0, sizeof r->p[group]);
    for (i = 0; i < HYB_N_PHI; i++) r->p[group][i][i] = HYB_RLS_FIRST;
}

static void hyb_corrector_init(hyb_corrector *r)
{
    int g;
    memset(r, 0, sizeof *r);
    for (g = 0; g < HYB_N_GROUPS; g++) hyb_corrector_reset(r, g);
}

/* What of the features bears on coefficients: noise of gradients; cosines between d and the d before, and b;
 * straightness; distance to the average; the last coefficient in hindsight; the rate against its peak; the budget. */
static void hyb_corrector_phi(const float features[HYB_N_FEATURES], double phi[HYB_N_PHI])
{
    static const unsigned char which[HYB_N_PHI - 1] = { 21, 27, 28, 30, 31, 32, 43, 45 };
    int i;
    phi[0] = 1;
    for (i = 1; i < HYB_N_PHI; i++)
        phi[i] = hyb_is_finite((double)features[which[i - 1]])
                     ? hyb_clamp((double)features[which[i - 1]], -HYB_FEATURE_MAX, HYB_FEATURE_MAX)
                     : 0;
}

static double hyb_corrector_raw(const hyb_corrector *r, int group, int direction, const double phi[HYB_N_PHI])
{
    double sum = 0;
    int i;
    for (i = 0; i < HYB_N_PHI; i++) sum += r->b[group][direction][i] * phi[i];
    return hyb_clamp(sum, -HYB_CORRECT_MOST, HYB_CORRECT_MOST);
}

/* Part of a correction that is made, by what it was learnt from. */
static double hyb_corrector_trust(const hyb_corrector *r, int group)
{
    return hyb_clamp((double)(r->n[group] - HYB_RLS_QUIET) / HYB_RLS_QUIET, 0.0, 1.0);
}

/* c, of one group, becomes what it should be: by at most strength HYB_CORRECT_MOST, and in the range of predictions
 * (c_d -0.6 .. 0, c_b -0.35 .. 1.75, c_s -1 .. 8, c_r 0 .. 0.5). strength: 0 to 1; 0 leaves c as it is. */
static void hyb_corrector_apply(const hyb_corrector *r, int group, const float features[HYB_N_FEATURES],
                                double strength, double c[HYB_N_DIRECTIONS])
{
    static const double low[HYB_N_DIRECTIONS] = { -0.6, -0.35, -1, 0 }, high[HYB_N_DIRECTIONS] = { 0, 1.75, 8, 0.5 };
    const double part = hyb_clamp(strength, 0.0, 1.0) * hyb_corrector_trust(r, group);
    double phi[HYB_N_PHI];
    int i;
    if (!(part > 0)) return;
    hyb_corrector_phi(features, phi);
    for (i = 0; i < HYB_N_DIRECTIONS; i++)
        c[i] = hyb_clamp(c[i] + part * hyb_corrector_raw(r, group, i, phi), low[i], high[i]);
}

/* P phi, and phi^T P phi. */
static double hyb_corrector_gain(const hyb_corrector *r, int group, const double phi[HYB_N_PHI], double k[HYB_N_PHI])
{
    double seen = 0;
    int i, j;
    for (i = 0; i < HYB_N_PHI; i++) {
        for (k[i] = 0, j = 0; j < HYB_N_PHI; j++) k[i] += r->p[group][i][j] * phi[j];
        seen += phi[i] * k[i];
    }
    return seen;
}

static void hyb_corrector_forget(hyb_corrector *r, int group, const double k[HYB_N_PHI], double seen)
{
    double largest = 0, keep;
    bool sound = true;
    int i, j;
    for (i = 0; i < HYB_N_PHI; i++) largest = HYB_MAX(largest, r->p[group][i][i]);
    keep = largest < HYB_RLS_MOST ? HYB_RLS_KEEP : 1;
    for (i = 0; i < HYB_N_PHI; i++)
        for (j = i; j < HYB_N_PHI; j++) {
            const double p = (r->p[group][i][j] - k[i] * k[j] / (keep + seen)) / keep;
            r->p[group][i][j] = r->p[group][j][i] = p;
        }
    for (i = 0; i < HYB_N_PHI; i++) sound = sound && r->p[group][i][i] > 0 && hyb_is_finite(r->p[group][i][i]);
    if (!sound) hyb_corrector_reset(r, group);
}

/* An episode is over: c was predicted from these features, before any correction, and best would have been right.
 * False: they are not numbers, and nothing was learnt. */
static bool hyb_corrector_learn(hyb_corrector *r, int group, const float features[HYB_N_FEATURES],
                                const double c[HYB_N_DIRECTIONS], const double best[HYB_N_DIRECTIONS])
{
    double phi[HYB_N_PHI], k[HYB_N_PHI], seen, part = hyb_corrector_trust(r, group), before = 0, after = 0;
    int i, j;
    for (i = 0; i < HYB_N_DIRECTIONS; i++)
        if (!hyb_is_finite(c[i]) || !hyb_is_finite(best[i])) {
            r->refused++;
            return false;
        }
    hyb_corrector_phi(features, phi);
    seen = hyb_corrector_gain(r, group, phi, k);
    for (i = 0; i < HYB_N_DIRECTIONS; i++) {
        const double error = hyb_clamp(best[i] - c[i], -HYB_RLS_ERROR, HYB_RLS_ERROR);
        const double left = error - part * hyb_corrector_raw(r, group, i, phi);
        double surprise = error;
        for (j = 0; j < HYB_N_PHI; j++) surprise -= r->b[group][i][j] * phi[j];
        for (j = 0; j < HYB_N_PHI; j++) r->b[group][i][j] += surprise * k[j] / (HYB_RLS_KEEP + seen);
        before += error * error;
        after += left * left;
    }
    hyb_corrector_forget(r, group, k, seen);
    r->before[group] += (before - r->before[group]) / (r->n[group] < 10 ? (double)r->n[group] + 1 : 10);
    r->after[group] += (after - r->after[group]) / (r->n[group] < 10 ? (double)r->n[group] + 1 : 10);
    r->n[group]++;
    return true;
}

static void hyb_corrector_walk(hyb_corrector *r, hyb_byte_walk *w)
{
    HYB_WALK(w, r->b);
    HYB_WALK(w, r->p);
    HYB_WALK(w, r->n);
    HYB_WALK(w, r->refused);
    HYB_WALK(w, r->before);
    HYB_WALK(w, r->after);
}
#endif
