/* predict/law: the curve that the loss follows over many windows,
 *
 *     l(S) = log(floor + A ((S + S0) / S0)^-alpha)        S: sum of the learning rates of all true steps so far
 *
 * in which S0 is that of the second window, and the rest is fitted: Gauss-Newton with damping (Levenberg and Marquardt)
 * in log A, log alpha and the logit of floor / least loss, so that no step leads out of what makes sense; a weak prior,
 * so that there is one answer from four windows on; newer windows count more, because the law holds better nearby; what
 * is far off counts less (Huber).
 * A fit begins at the last one and only goes where the cost is less: the worst that bad data can do is nothing.
 *
 * Once 256 windows are kept, neighbours are merged: the oldest are seen more coarsely, and nothing is forgotten. */
#ifndef HYB_PREDICT_LAW_C
#define HYB_PREDICT_LAW_C
#include "series.c"
#include "walk.c"

#define HYB_LAW_POINTS 256
#define HYB_LAW_LEAST  4   /* windows, from which on there is a fit */
#define HYB_LAW_ALPHA  0.5 /* what is thought of alpha before anything is seen, */
#define HYB_LAW_WIDTHS \
    { \
        2.0, 1.0, 2.0 \
    }                       /* and how wide: deviations of log A, log alpha, logit of the floor */
#define HYB_LAW_SIGMA  1e-4 /* least deviation */
#define HYB_LAW_ROUNDS 3    /* of weights against what is far off */
#define HYB_LAW_STEPS  12

typedef struct hyb_law {
    double s[HYB_LAW_POINTS], l[HYB_LAW_POINTS], count[HYB_LAW_POINTS]; /* count: windows in a point */
    int64_t n;                                                          /* points */
    int64_t n_windows;                                                  /* that ended */
    double sum_s, sum_l; /* over the steps of the window that has not ended */
    int64_t n_steps;     /* in it */
    double total;        /* S */
    double s0;
    int64_t fitted; /* 0: there is no fit yet */
    double floor, a, alpha;
    double sigma;    /* deviation of a window's l from the law */
    double residual; /* l - law: half of it the last window's, a quarter that before... */
} hyb_law;

static void hyb_law_init(hyb_law *law)
{
    memset(law, 0, sizeof *law);
    law->sigma = 0.1;
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

/* l by the law when the sum of rates is s; before there is one, the last window's. */
static double hyb_law_value(const hyb_law *law, double s)
{
    if (!law->fitted) return law->n ? law->l[law->n - 1] : 0;
    return log(law->floor + law->a * pow(HYB_MAX(s + law->s0, law->s0) / law->s0, -law->alpha));
}

/* Change of l by the law with s: per unit of the sum of rates. Never upward. */
static double hyb_law_slope(const hyb_law *law, double s)
{
    double part, x;
    if (!law->fitted) return 0;
    x = HYB_MAX(s + law->s0, law->s0) / law->s0;
    part = law->a * pow(x, -law->alpha);
    return -law->alpha * part / (x * law->s0 * (law->floor + part));
}

/* The best guess of l at s, from now on: the law, as far above or below as it is now. */
static double hyb_law_ahead(const hyb_law *law, double s) { return hyb_law_value(law, s) + law->residual; }

/* ---- the fit ----------------------------------------------------------------------------------------------------- */

typedef struct hyb_law_try {
    double p[3]; /* log A, log alpha, logit of floor / cap */
    double cap;  /* the floor is below it */
    double prior[3], weight_of_prior[3];
    double x[HYB_LAW_POINTS], w[HYB_LAW_POINTS]; /* log((S + S0) / S0); weights */
} hyb_law_try;

/* l at point i by parameters p, and its derivatives. */
static double hyb_law_at(const hyb_law_try *t, const double p[3], int i, double d[3])
{
    const double alpha = exp(p[1]), part = exp(p[0] - alpha * t->x[i]), share = hyb_logistic(p[2]);
    const double floor_ = t->cap * share, all = floor_ + part;
    d[0] = part / all;
    d[1] = -part * alpha * t->x[i] / all;
    d[2] = floor_ * (1 - share) / all;
    return log(all);
}

/* Weighted squares, the prior's included. */
static double hyb_law_cost(const hyb_law *law, const hyb_law_try *t, const double p[3])
{
    double d[3], cost = 0;
    int i;
    for (i = 0; i < 3; i++) cost += t->weight_of_prior[i] * (p[i] - t->prior[i]) * (p[i] - t->prior[i]);
    for (i = 0; i < (int)law->n; i++) {
        const double off = law->l[i] - hyb_law_at(t, p, i, d);
        cost += t->w[i] * off * off;
    }
    return cost;
}

/* x of h x = g, h symmetric and positive (3 x 3), by Cramer's rule. false: it is not. */
static bool hyb_law_solve(const double h[3][3], const double g[3], double x[3])
{
    double m[3][3], det;
    int i, j;
    for (i = 0; i < 3; i++)
        for (j = 0; j < 3; j++) {
            const int a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
            m[i][j] = h[a][c] * h[b][d] - h[a][d] * h[b][c];
        }
    det = h[0][0] * m[0][0] + h[0][1] * m[0][1] + h[0][2] * m[0][2];
    if (!(det > 0) || !hyb_is_finite(det)) return false;
    for (i = 0; i < 3; i++) x[i] = (m[0][i] * g[0] + m[1][i] * g[1] + m[2][i] * g[2]) / det;
    return hyb_is_finite(x[0]) && hyb_is_finite(x[1]) && hyb_is_finite(x[2]);
}

/* One step of Gauss-Newton: with more and more damping, until the cost is less. false: it is as low as can be. */
static bool hyb_law_improve(const hyb_law *law, hyb_law_try *t, double *damping, double *cost)
{
    double h[3][3] = { { 0 } }, g[3], d[3], step[3], p[3];
    int i, j, k, tries;
    for (j = 0; j < 3; j++) g[j] = -t->weight_of_prior[j] * (t->p[j] - t->prior[j]);
    for (j = 0; j < 3; j++) h[j][j] = t->weight_of_prior[j];
    for (i = 0; i < (int)law->n; i++) {
        const double off = law->l[i] - hyb_law_at(t, t->p, i, d);
        for (j = 0; j < 3; j++) {
            g[j] += t->w[i] * off * d[j];
            for (k = 0; k < 3; k++) h[j][k] += t->w[i] * d[j] * d[k];
        }
    }
    for (tries = 0; tries < 10; tries++) {
        double damped[3][3], next;
        memcpy(damped, h, sizeof h);
        for (j = 0; j < 3; j++) damped[j][j] += *damping * h[j][j] + 1e-12;
        if (hyb_law_solve((const double(*)[3])damped, g, step)) {
            for (j = 0; j < 3; j++)
                p[j] = hyb_clamp(t->p[j] + hyb_clamp(step[j], -1.0, 1.0), j ? -6.0 : -20.0,
                                 j == 1 ? 1.5
                                 : j    ? 6.0
                                        : 20.0);
            next = hyb_law_cost(law, t, p);
            if (next < *cost) {
                const bool worth = *cost - next > 1e-9 * *cost;
                memcpy(t->p, p, sizeof p);
                *cost = next;
                *damping = HYB_MAX(*damping / 5, 1e-7);
                return worth;
            }
        }
        *damping *= 5;
    }
    return false;
}

/* Weights of points by their age, and by how far off they are. Gives the deviation. */
static double hyb_law_weights(const hyb_law *law, hyb_law_try *t)
{
    double off[HYB_LAW_POINTS], sorted[HYB_LAW_POINTS], d[3], age = 0, sum = 0, squares = 0, usual;
    const double memory = HYB_MAX(10.0, (double)law->n_windows / 3);
    const int n = (int)law->n;
    int i;
    for (i = 0; i < n; i++) {
        off[i] = law->l[i] - hyb_law_at(t, t->p, i, d);
        sorted[i] = fabs(off[i]);
    }
    usual = 1.4826 * hyb_nth(sorted, n, n / 2);
    for (i = n - 1; i >= 0; i--) {
        const double away = fabs(off[i]) / HYB_MAX(2.5 * usual, HYB_LAW_SIGMA);
        t->w[i] = law->count[i] * exp(-age / memory) / HYB_MAX(away, 1.0);
        age += law->count[i];
        sum += t->w[i];
        squares += t->w[i] * off[i] * off[i];
    }
    return HYB_MAX(sqrt(squares / sum), HYB_LAW_SIGMA);
}

static void hyb_law_begin(const hyb_law *law, hyb_law_try *t)
{
    double least = law->l[0], first = exp(law->l[0]);
    int i;
    for (i = 0; i < (int)law->n; i++) {
        t->x[i] = log((HYB_MAX(law->s[i], 0.0) + law->s0) / law->s0);
        least = HYB_MIN(least, law->l[i]);
    }
    t->cap = exp(least);
    t->prior[0] = log(HYB_MAX(first - t->cap / 2, t->cap / 100));
    t->prior[1] = log(HYB_LAW_ALPHA);
    t->prior[2] = 0;
    memcpy(t->p, t->prior, sizeof t->p);
    if (law->fitted) {
        const double share = hyb_clamp(law->floor / t->cap, 0.003, 0.997);
        t->p[0] = log(law->a);
        t->p[1] = log(law->alpha);
        t->p[2] = log(share / (1 - share));
    }
}

static void hyb_law_refit(hyb_law *law)
{
    static const double widths[3] = HYB_LAW_WIDTHS;
    hyb_law_try t;
    double sigma = 0, d[3];
    int round, step, i;
    hyb_law_begin(law, &t);
    for (round = 0; round < HYB_LAW_ROUNDS; round++) {
        double damping = 1e-3, cost;
        sigma = hyb_law_weights(law, &t);
        for (i = 0; i < 3; i++) t.weight_of_prior[i] = sigma * sigma / (widths[i] * widths[i]);
        cost = hyb_law_cost(law, &t, t.p);
        for (step = 0; step < HYB_LAW_STEPS && hyb_law_improve(law, &t, &damping, &cost); step++) {}
    }
    sigma = hyb_law_weights(law, &t);
    if (!hyb_is_finite(t.p[0]) || !hyb_is_finite(t.p[1]) || !hyb_is_finite(t.p[2]) || !hyb_is_finite(sigma)) return;
    law->a = exp(t.p[0]);
    law->alpha = exp(t.p[1]);
    law->floor = t.cap * hyb_logistic(t.p[2]);
    law->sigma = sigma;
    law->fitted = 1;
    law->residual = 0;
    for (i = HYB_MAX((int)law->n - 6, 0); i < (int)law->n; i++)
        law->residual = (law->residual + law->l[i] - hyb_law_at(&t, t.p, i, d)) / 2;
}

/* ---- what goes in ------------------------------------------------------------------------------------------------ */

/* Neighbours become one point each. */
static void hyb_law_merge(hyb_law *law)
{
    int i;
    for (i = 0; i < HYB_LAW_POINTS / 2; i++) {
        const double a = law->count[2 * i], b = law->count[2 * i + 1];
        law->s[i] = (a * law->s[2 * i] + b * law->s[2 * i + 1]) / (a + b);
        law->l[i] = (a * law->l[2 * i] + b * law->l[2 * i + 1]) / (a + b);
        law->count[i] = a + b;
    }
    law->n = HYB_LAW_POINTS / 2;
}

/* A true step. */
static void hyb_law_step(hyb_law *law, double loss, double rate)
{
    if (rate > 0) law->total += HYB_MIN(rate, 1e6);
    if (!hyb_is_finite(loss)) return;
    law->sum_s += law->total;
    law->sum_l += hyb_log_loss(loss);
    law->n_steps++;
}

/* A window is over. It is fitted anew at each of the first 64, and then at every eighth. */
static void hyb_law_window(hyb_law *law)
{
    if (!law->n_steps) return;
    if (law->n == HYB_LAW_POINTS) hyb_law_merge(law);
    law->s[law->n] = law->sum_s / (double)law->n_steps;
    law->l[law->n] = law->sum_l / (double)law->n_steps;
    law->count[law->n] = 1;
    if (law->n_windows < 2) law->s0 = HYB_MAX(law->s[law->n], 1e-30);
    law->n++;
    law->n_windows++;
    law->sum_s = law->sum_l = 0;
    law->n_steps = 0;
    if (law->n >= HYB_LAW_LEAST && (law->n_windows <= 64 || law->n_windows % 8 == 0))
        hyb_law_refit(law);
    else if (law->fitted)
        law->residual = (law->residual + law->l[law->n - 1] - hyb_law_value(law, law->s[law->n - 1])) / 2;
}

static void hyb_law_walk(hyb_law *law, hyb_byte_walk *w)
{
    hyb_walk_same(w, HYB_LAW_POINTS);
    HYB_WALK(w, *law);
    if (w->reads && (law->n < 0 || law->n > HYB_LAW_POINTS || law->n_steps < 0)) w->failed = true;
}
#endif
