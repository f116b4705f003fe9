/* predict/monitor: whether a run goes astray, and what should be done about it. The monitor only looks and asks;
 * whoever moves the weights carries it out, and says so (hyb_monitor_rolled_back).
 *
 *     loss         above where it was heading, in deviations of its noise   > T caution, > 2 T warning, > 4 T critical
 *                  the same many times a little: a cumulative sum           warning
 *     gradient     longer than it used to be                                > 10 x caution, > 100 x warning, > 1000 x
 *                                                                           critical
 *                  shorter than 1/100 of what it used to be                 warning
 *     oscillation  more turning points in 100 losses than noise has, and    z > 4 caution, z > 6 warning
 *                  the noise has grown
 *     surprise     loss against its prediction, in the prediction's own     > 3 caution, > 5 warning if upward
 *                  deviations
 *     no number    loss or gradient                                         critical
 *
 * The third warning in a row is critical. Only what rises is suspicious: a loss that falls faster than before is what
 * everybody wants. Below T nothing is said: of independent noise one step in 700 is above T = 3, and one in 56 above
 * 0.7 T, too many to listen to. */
#ifndef HYB_PREDICT_MONITOR_C
#define HYB_PREDICT_MONITOR_C
#include "series.c"
#include "walk.c"

#define HYB_TURN_RING       100
#define HYB_MONITOR_SIGMA   1e-3 /* least deviation of l that is noise: a thousandth of the loss */
#define HYB_ROLLBACK_WITHIN 500  /* true steps: later roll-backs have nothing to do with earlier ones */
#define HYB_ROLLBACK_SLOWER 2    /* roll-backs, from which on the rate is halved each time */
#define HYB_ROLLBACK_MOST   5

typedef enum hyb_severity { HYB_NORMAL = 0, HYB_CAUTION, HYB_WARNING, HYB_CRITICAL } hyb_severity;

/* Why: a bit for each. */
enum {
    HYB_SIGNAL_LOSS = 1,
    HYB_SIGNAL_CREEP = 2,
    HYB_SIGNAL_EXPLODES = 4,
    HYB_SIGNAL_VANISHES = 8,
    HYB_SIGNAL_OSCILLATES = 16,
    HYB_SIGNAL_SURPRISE = 32,
    HYB_SIGNAL_NO_NUMBER = 64,
    HYB_SIGNAL_REPEATED = 128 /* the third warning in a row */
};

typedef enum hyb_act { HYB_ACT_CONTINUE = 0, HYB_ACT_SHORTEN, HYB_ACT_FULL, HYB_ACT_ROLL_BACK, HYB_ACT_ABORT } hyb_act;

typedef struct hyb_action {
    hyb_act act;
    hyb_severity severity;
    uint32_t signals;
    double shorten;  /* HYB_ACT_SHORTEN: what predictions are multiplied by */
    int32_t steps;   /* HYB_ACT_FULL, and after a roll-back: true steps without a prediction */
    double rate;     /* what the learning rate is to be multiplied by after the roll-back; 1: as it is */
    const char *why; /* a sentence, for the log and for the error of an abort */
} hyb_action;

/* Zero stands for what is usual. */
typedef struct hyb_monitor_desc {
    double sigma;       /* T; 0: 3 */
    double explodes;    /* 0: 100 */
    double vanishes;    /* 0: 0.01 */
    int32_t n_warmup;   /* true steps from which the noise is learnt, before anything is said of losses; 0: 32 */
    int32_t full_steps; /* 0: 20; a forced phase is twice as long */
} hyb_monitor_desc;

/* What a step showed. */
typedef struct hyb_reading {
    double loss;       /* nats */
    bool has_grad;     /* false where no gradient was computed, as in Predict */
    double grad_norm;  /* before clipping */
    bool has_surprise; /* a loss was predicted: */
    double surprise;   /* (l - predicted) / deviation, calibrated */
    bool can_go_back;  /* there is a snapshot */
} hyb_reading;

typedef struct hyb_monitor {
    double sigma, explodes, vanishes;
    int64_t n_warmup, full_steps;
    int64_t n, n_grad;                  /* readings until now; they are counted on over a roll-back */
    double level, trend;                /* of l, a step; the trend is never upward */
    double squares;                     /* average of squares of l - (level + trend) */
    double usual;                       /* the same, over a thousand steps */
    double creep;                       /* cumulative sum of deviations above 1 */
    double grad;                        /* average of log norms */
    double turn[HYB_TURN_RING];         /* l of the last steps */
    int64_t n_turn, n_warnings;         /* warnings: in a row */
    int64_t n_rollbacks, last_rollback; /* none farther than HYB_ROLLBACK_WITHIN from the next; reading of the last */
} hyb_monitor;

static void hyb_monitor_init(hyb_monitor *m, const hyb_monitor_desc *desc)
{
    memset(m, 0, sizeof *m);
    m->sigma = desc->sigma > 0 ? desc->sigma : 3;
    m->explodes = desc->explodes > 0 ? desc->explodes : 100;
    m->vanishes = desc->vanishes > 0 ? desc->vanishes : 0.01;
    m->n_warmup = desc->n_warmup > 0 ? desc->n_warmup : 32;
    m->full_steps = desc->full_steps > 0 ? desc->full_steps : 20;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void hyb_signal(hyb_action *a, hyb_severity severity, uint32_t signal, const char *why)
{
    a->signals |= signal;
    if (severity <= a->severity) return;
    a->severity = severity;
    a->why = why;
}

/* How far l is above where it was heading, in deviations; it becomes part of that. What is far off counts as three
 * deviations there, so that a spike does not make the next one look usual. */
static double hyb_monitor_deviation(hyb_monitor *m, double l)
{
    const double part = m->n < m->n_warmup ? 1.0 / (double)(m->n + 1) : 0.01, ahead = m->level + m->trend;
    const double sigma = HYB_MAX(sqrt(m->squares), HYB_MONITOR_SIGMA), z = (l - ahead) / sigma;
    double off = l - ahead;
    if (m->n == 0) {
        m->level = l;
        return 0;
    }
    if (m->n >= m->n_warmup) off = hyb_clamp(off, -3 * sigma, 3 * sigma);
    m->squares += HYB_MAX(part, 0.01) * (off * off - m->squares);
    m->usual = m->n < m->n_warmup ? m->squares : m->usual + 0.001 * (off * off - m->usual);
    m->level = ahead + HYB_MAX(part, 0.03) * off;
    m->trend = HYB_MIN(m->trend + 0.003 * off, 0.0);
    return m->n < m->n_warmup ? 0 : z;
}

static void hyb_monitor_loss(hyb_monitor *m, double l, hyb_action *a)
{
    const double z = hyb_monitor_deviation(m, l), t = m->sigma;
    m->creep = hyb_clamp(m->creep + HYB_MIN(z, 4.0) - 1, 0.0, 100.0);
    if (z > t)
        hyb_signal(a,
                   z > 4 * t   ? HYB_CRITICAL
                   : z > 2 * t ? HYB_WARNING
                               : HYB_CAUTION,
                   HYB_SIGNAL_LOSS, "the loss is far above where it was heading");
    if (m->creep > 12) {
        hyb_signal(a, HYB_WARNING, HYB_SIGNAL_CREEP, "the loss has been rising for many steps");
        m->creep = 6; /* not again at once */
    }
}

static void hyb_monitor_grad(hyb_monitor *m, double norm, hyb_action *a)
{
    const double g = log(HYB_MAX(norm, 1e-30)), part = 1.0 / (double)HYB_MIN(m->n_grad + 1, (int64_t)50);
    const double off = g - m->grad;
    if (m->n_grad >= 10) {
        if (off > log(m->explodes / 10))
            hyb_signal(a,
                       off > log(m->explodes * 10) ? HYB_CRITICAL
                       : off > log(m->explodes)    ? HYB_WARNING
                                                   : HYB_CAUTION,
                       HYB_SIGNAL_EXPLODES, "the gradient is far longer than it used to be");
        if (off < log(m->vanishes)) hyb_signal(a, HYB_WARNING, HYB_SIGNAL_VANISHES, "the gradient has almost vanished");
    }
    m->grad += part * (m->n_grad < 10 ? off : hyb_clamp(off, -1.0, 1.0));
    m->n_grad++;
}

/* Of n independent numbers 2 (n - 2) / 3 are turning points, with a variance of (16 n - 29) / 90. Losses that go up and
 * down are not dangerous while they do it no wilder than ever: two kinds of text by turns look like that. */
static void hyb_monitor_turns(hyb_monitor *m, double l, hyb_action *a)
{
    const double n = HYB_TURN_RING;
    double y[HYB_TURN_RING], z;
    m->turn[m->n_turn++ % HYB_TURN_RING] = l;
    if (m->n_turn < HYB_TURN_RING || m->squares < 2 * m->usual) return;
    hyb_ring_last(m->turn, HYB_TURN_RING, m->n_turn, HYB_TURN_RING, y);
    z = (hyb_turning(y, HYB_TURN_RING) * (n - 2) - 2 * (n - 2) / 3) / sqrt((16 * n - 29) / 90);
    if (z > 4)
        hyb_signal(a, z > 6 ? HYB_WARNING : HYB_CAUTION, HYB_SIGNAL_OSCILLATES,
                   "the loss goes up and down, wilder than before");
}

/* ---- actions ----------------------------------------------------------------------------------------------------- */

/* Roll-backs that hang together with one now. */
static int64_t hyb_monitor_streak(const hyb_monitor *m)
{
    return m->n_rollbacks && m->n - m->last_rollback <= HYB_ROLLBACK_WITHIN ? m->n_rollbacks : 0;
}

static void hyb_monitor_act(const hyb_monitor *m, bool can_go_back, hyb_action *a)
{
    const int64_t streak = hyb_monitor_streak(m);
    a->steps = (int32_t)(2 * m->full_steps);
    switch (a->severity) {
    case HYB_NORMAL: a->steps = 0; break;
    case HYB_CAUTION:
        a->act = HYB_ACT_SHORTEN;
        a->shorten = 0.5;
        a->steps = 0;
        break;
    case HYB_WARNING: a->act = HYB_ACT_FULL; break;
    default:
        if (can_go_back && streak < HYB_ROLLBACK_MOST) {
            a->act = HYB_ACT_ROLL_BACK;
            if (streak + 1 >= HYB_ROLLBACK_SLOWER) a->rate = 0.5;
        } else if (can_go_back || (a->signals & HYB_SIGNAL_NO_NUMBER)) {
            a->act = HYB_ACT_ABORT;
            a->why = can_go_back ? "the run went astray again after five roll-backs within 500 steps each, the last "
                                   "of them with half the learning rate each: begin with a smaller one"
                                 : "the loss or its gradient is not a finite number, and there is nothing to go back "
                                   "to: go on from a checkpoint with a smaller learning rate";
        } else {
            a->act = HYB_ACT_FULL; /* nothing was predicted that could be taken back: it is the run's own business */
        }
    }
}

/* What a step shows, and what is to be done. */
static hyb_action hyb_monitor_look(hyb_monitor *m, const hyb_reading *r)
{
    hyb_action a;
    memset(&a, 0, sizeof a);
    a.shorten = a.rate = 1;
    a.why = "all is well";
    if (!hyb_is_finite(r->loss) || (r->has_grad && !hyb_is_finite(r->grad_norm))) {
        hyb_signal(&a, HYB_CRITICAL, HYB_SIGNAL_NO_NUMBER, "the loss or its gradient is not a finite number");
    } else {
        const double l = hyb_log_loss(r->loss);
        hyb_monitor_loss(m, l, &a);
        if (r->has_grad) hyb_monitor_grad(m, r->grad_norm, &a);
        hyb_monitor_turns(m, l, &a);
        if (r->has_surprise && !(fabs(r->surprise) <= 3))
            hyb_signal(&a, r->surprise > 5 ? HYB_WARNING : HYB_CAUTION, HYB_SIGNAL_SURPRISE,
                       "the loss is far from its prediction");
    }
    m->n++;
    m->n_warnings = a.severity == HYB_WARNING ? m->n_warnings + 1 : 0;
    if (m->n_warnings >= 3) {
        hyb_signal(&a, HYB_CRITICAL, HYB_SIGNAL_REPEATED, "three warnings in a row");
        m->n_warnings = 0;
    }
    hyb_monitor_act(m, r->can_go_back, &a);
    return a;
}

/* The weights are as they were at the snapshot: what was seen since then says nothing any more. */
static void hyb_monitor_rolled_back(hyb_monitor *m)
{
    m->n_rollbacks = hyb_monitor_streak(m) + 1;
    m->last_rollback = m->n;
    m->n_warnings = m->n_turn = 0;
    m->creep = 0;
}

/* All but what the descriptor says. */
static void hyb_monitor_walk(hyb_monitor *m, hyb_byte_walk *w)
{
    hyb_walk_bytes(w, (char *)m + offsetof(hyb_monitor, n), sizeof *m - offsetof(hyb_monitor, n));
    if (w->reads && (m->n < 0 || m->n_grad < 0 || m->n_turn < 0)) w->failed = true;
}
#endif
