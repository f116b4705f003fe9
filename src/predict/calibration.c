/* predict/calibration: predictions that say how sure they are, held to what then happened.
 *
 *     hyb_conformal    the band of a number: by how much deviations have to be multiplied, so that nine of ten of the
 *                      last 200 numbers lay within
 *     hyb_platt        a probability p becomes logistic(a logit p + b), a and b from what the last 256 led to
 *     hyb_score        how good the probabilities were: Brier's score, and the expected calibration error, by tenths */
#ifndef HYB_PREDICT_CALIBRATION_C
#define HYB_PREDICT_CALIBRATION_C
#include "series.c"
#include "walk.c"

#define HYB_CONFORMAL_RING  200
#define HYB_CONFORMAL_PART  0.9
#define HYB_CONFORMAL_GAUSS 1.6448536269514722 /* what it would be for a normal distribution whose deviation is right \
                                                */
#define HYB_PLATT_RING  256
#define HYB_PLATT_TRUST 1.0 /* what a = 1, b = 0 weighs, against outcomes */
#define HYB_SCORE_BINS  10
#define HYB_SCORE_OLD   0.9995 /* of what was counted, what stays */

/* ---- the band of a number ---------------------------------------------------------------------------------------- */

typedef struct hyb_conformal {
    double off[HYB_CONFORMAL_RING]; /* |y - predicted| / deviation */
    int64_t n;                      /* that ever went in */
    double factor;                  /* by which deviations are multiplied: nine of ten lie within */
} hyb_conformal;

static void hyb_conformal_init(hyb_conformal *c)
{
    memset(c, 0, sizeof *c);
    c->factor = HYB_CONFORMAL_GAUSS;
}

/* y was predicted, with a deviation. With few of them, the quantile for which nine of ten is promised of the next one
 * is beyond the largest: then it is at least that of the normal distribution. */
static void hyb_conformal_add(hyb_conformal *c, double y, double predicted, double sigma)
{
    double sorted[HYB_CONFORMAL_RING], q;
    int n, k;
    if (!hyb_is_finite(y) || !hyb_is_finite(predicted) || !(sigma > 0) || !hyb_is_finite(sigma)) return;
    c->off[c->n++ % HYB_CONFORMAL_RING] = HYB_MIN(fabs(y - predicted) / HYB_MAX(sigma, 1e-12), 1e6);
    n = hyb_ring_last(c->off, HYB_CONFORMAL_RING, c->n, HYB_CONFORMAL_RING, sorted);
    k = (int)ceil(HYB_CONFORMAL_PART * (n + 1)) - 1;
    q = hyb_nth(sorted, n, HYB_MIN(k, n - 1));
    c->factor = k < n ? q : HYB_MAX(q, HYB_CONFORMAL_GAUSS);
    c->factor = HYB_MAX(c->factor, 1e-3);
}

static void hyb_conformal_walk(hyb_conformal *c, hyb_byte_walk *w)
{
    HYB_WALK(w, *c);
    if (w->reads && c->n < 0) w->failed = true;
}

/* ---- probabilities ----------------------------------------------------------------------------------------------- */

typedef struct hyb_platt {
    double logit[HYB_PLATT_RING], outcome[HYB_PLATT_RING]; /* outcome: 1, it happened; 0 */
    int64_t n;                                             /* that ever went in */
    double a, b;
} hyb_platt;

static void hyb_platt_init(hyb_platt *t)
{
    memset(t, 0, sizeof *t);
    t->a = 1;
}

static double hyb_logit(double p)
{
    p = hyb_clamp(p, 1e-6, 1 - 1e-6);
    return log(p / (1 - p));
}

/* What a probability of p is worth. a >= 0: the order of two of them stays. */
static double hyb_platt_of(const hyb_platt *t, double p) { return hyb_logistic(t->a * hyb_logit(p) + t->b); }

/* The logistic loss of all that is kept, and of having gone far from a = 1, b = 0. */
static double hyb_platt_loss(const hyb_platt *t, double a, double b)
{
    const int n = (int)HYB_MIN(t->n, (int64_t)HYB_PLATT_RING);
    double loss = HYB_PLATT_TRUST / 2 * ((a - 1) * (a - 1) + b * b / 4);
    int i;
    for (i = 0; i < n; i++) {
        const double z = (a * t->logit[i] + b) * (t->outcome[i] > 0.5 ? 1 : -1);
        loss += z > 0 ? log(1 + exp(-z)) : log(1 + exp(z)) - z;
    }
    return loss;
}

/* Newton's method, with shorter steps where a whole one is too long. */
static void hyb_platt_fit(hyb_platt *t)
{
    const int n = (int)HYB_MIN(t->n, (int64_t)HYB_PLATT_RING);
    double loss = hyb_platt_loss(t, t->a, t->b);
    int step, i;
    for (step = 0; step < 8; step++) {
        double ga = HYB_PLATT_TRUST * (t->a - 1), gb = HYB_PLATT_TRUST / 4 * t->b, da, db, det, part = 1, next;
        double aa = HYB_PLATT_TRUST, ab = 0, bb = HYB_PLATT_TRUST / 4, a, b;
        for (i = 0; i < n; i++) {
            const double x = t->logit[i], p = hyb_logistic(t->a * x + t->b), v = p * (1 - p);
            ga += (p - t->outcome[i]) * x;
            gb += p - t->outcome[i];
            aa += v * x * x;
            ab += v * x;
            bb += v;
        }
        det = aa * bb - ab * ab; /* the prior makes it positive */
        da = (bb * ga - ab * gb) / det;
        db = (aa * gb - ab * ga) / det;
        do {
            a = HYB_MAX(t->a - part * da, 0.0);
            b = t->b - part * db;
            next = hyb_platt_loss(t, a, b);
            part /= 2;
        } while (!(next <= loss) && part > 1e-3);
        if (!(next < loss)) return;
        t->a = a;
        t->b = b;
        if (loss - next < 1e-9 * loss) return;
        loss = next;
    }
}

/* p: as it was before calibration. It is fitted anew each time while there are few, and then at every eighth. */
static void hyb_platt_add(hyb_platt *t, double p, bool happened)
{
    const int64_t at = t->n++ % HYB_PLATT_RING;
    t->logit[at] = hyb_logit(p);
    t->outcome[at] = happened ? 1 : 0;
    if (t->n <= 64 || t->n % 8 == 0) hyb_platt_fit(t);
}

static void hyb_platt_walk(hyb_platt *t, hyb_byte_walk *w)
{
    HYB_WALK(w, *t);
    if (w->reads && t->n < 0) w->failed = true;
}

/* ---- how good they were ------------------------------------------------------------------------------------------ */

typedef struct hyb_score {
    double weight[HYB_SCORE_BINS], said[HYB_SCORE_BINS], happened[HYB_SCORE_BINS]; /* sums, of p from i / 10 on */
    double n, squares;                                                             /* of all; squares: of p - outcome */
} hyb_score;

static void hyb_score_init(hyb_score *s) { memset(s, 0, sizeof *s); }

/* p: as it was said, calibrated if it was. */
static void hyb_score_add(hyb_score *s, double p, bool happened)
{
    const double y = happened ? 1 : 0;
    int i, bin;
    p = hyb_clamp(p, 0.0, 1.0);
    bin = HYB_MIN((int)(p * HYB_SCORE_BINS), HYB_SCORE_BINS - 1);
    for (i = 0; i < HYB_SCORE_BINS; i++) {
        s->weight[i] *= HYB_SCORE_OLD;
        s->said[i] *= HYB_SCORE_OLD;
        s->happened[i] *= HYB_SCORE_OLD;
    }
    s->weight[bin] += 1;
    s->said[bin] += p;
    s->happened[bin] += y;
    s->n = HYB_SCORE_OLD * s->n + 1;
    s->squares = HYB_SCORE_OLD * s->squares + (p - y) * (p - y);
}

/* 0: always right and sure of it; 0.25: always 0.5, knows nothing. */
static double hyb_score_brier(const hyb_score *s) { return s->n > 0 ? s->squares / s->n : 0; }

/* How far what was said is from how often it happened, on the average. */
static double hyb_score_ece(const hyb_score *s)
{
    double off = 0;
    int i;
    for (i = 0; i < HYB_SCORE_BINS; i++) off += fabs(s->said[i] - s->happened[i]);
    return s->n > 0 ? off / s->n : 0;
}

static void hyb_score_walk(hyb_score *s, hyb_byte_walk *w) { HYB_WALK(w, *s); }
#endif
