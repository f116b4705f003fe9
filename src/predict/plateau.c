/* predict/plateau: whether a run stands still. Losses are averaged over ten steps each; of the last 50 averages a line
 * is fitted, and where it falls by less than a thousandth of the loss for each, its standard error included, the run is
 * on a plateau. Noise alone is none: where the error is larger than that, nothing is said.
 *
 * A plateau in the first half of the budget is stuck, in the last quarter it is a healthy end. What could be done about
 * the first is to raise the rate by half for a hundred steps (a restart), at most three times and 500 steps apart. That
 * is a recommendation: a run in which it is carried out has another schedule than the one that it is compared with. */
#ifndef HYB_PREDICT_PLATEAU_C
#define HYB_PREDICT_PLATEAU_C
#include "health.c"

#define HYB_PLATEAU_EACH     10 /* steps of an average */
#define HYB_PLATEAU_WINDOW   50
#define HYB_PLATEAU_SLOPE    1e-3 /* of log loss, for each average */
#define HYB_PLATEAU_LEAST    100  /* steps of plateau before anything is recommended */
#define HYB_PLATEAU_RESTART  100  /* steps that a restart takes */
#define HYB_PLATEAU_COOLDOWN 500  /* steps from restart to restart */
#define HYB_PLATEAU_RESTARTS 3
#define HYB_PLATEAU_RAISE    1.5

typedef enum hyb_plateau_kind {
    HYB_PLATEAU_NONE = 0,
    HYB_PLATEAU_SLOW,
    HYB_PLATEAU_STUCK,
    HYB_PLATEAU_END
} hyb_plateau_kind;

typedef struct hyb_plateau {
    double ring[HYB_PLATEAU_WINDOW]; /* averages of log loss */
    double sum;                      /* of the one that is being made */
    int64_t n, in_sum;
    int64_t steps;     /* that there were */
    int64_t since;     /* steps of the plateau that the run is on; 0: none */
    int64_t restarted; /* the step of the last restart */
    int64_t restarts;
    int64_t kind; /* hyb_plateau_kind */
} hyb_plateau;

static void hyb_plateau_init(hyb_plateau *p) { memset(p, 0, sizeof *p); }

static bool hyb_plateau_flat(const hyb_plateau *p)
{
    double y[HYB_PLATEAU_WINDOW];
    const int n = hyb_ring_last(p->ring, HYB_PLATEAU_WINDOW, p->n, HYB_PLATEAU_WINDOW, y);
    hyb_trend line;
    if (n < HYB_PLATEAU_WINDOW) return false;
    line = hyb_trend_fit(y, n);
    return fabs(line.slope) + 2 * hyb_slope_error(&line, n) < HYB_PLATEAU_SLOPE;
}

/* Whether a restart begins: with this step, if it does. */
static bool hyb_plateau_restarts(hyb_plateau *p)
{
    if (p->kind != HYB_PLATEAU_STUCK || p->since < HYB_PLATEAU_LEAST || p->restarts >= HYB_PLATEAU_RESTARTS ||
        (p->restarts && p->steps - p->restarted < HYB_PLATEAU_COOLDOWN))
        return false;
    p->restarts++;
    p->restarted = p->steps;
    return true;
}

/* After a true step; what the rate of the next should be multiplied by. budget: part of the run that is used up. What
 * is not finite is passed over. */
static double hyb_plateau_step(hyb_plateau *p, double loss, double budget)
{
    p->steps++;
    if (hyb_is_finite(loss)) {
        p->sum += hyb_log_loss(loss);
        p->in_sum++;
    }
    if (p->in_sum == HYB_PLATEAU_EACH) {
        p->ring[p->n++ % HYB_PLATEAU_WINDOW] = p->sum / HYB_PLATEAU_EACH;
        p->sum = 0;
        p->in_sum = 0;
        p->since = hyb_plateau_flat(p) ? p->since + HYB_PLATEAU_EACH : 0;
    }
    p->kind = !p->since        ? HYB_PLATEAU_NONE
              : budget < 0.5   ? HYB_PLATEAU_STUCK
              : budget <= 0.75 ? HYB_PLATEAU_SLOW
                               : HYB_PLATEAU_END;
    if (hyb_plateau_restarts(p)) return HYB_PLATEAU_RAISE;
    return p->restarts && p->steps - p->restarted < HYB_PLATEAU_RESTART ? HYB_PLATEAU_RAISE : 1;
}

static void hyb_plateau_walk(hyb_plateau *p, hyb_byte_walk *w) { HYB_WALK(w, *p); }
#endif
