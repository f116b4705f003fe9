/* predict/phase: Warmup, Full, Predict, Correct: which of them may follow which, and the clock of the budget.
 *
 *     Warmup  -> Full
 *     Full    -> Full, Predict, Correct
 *     Predict -> Correct, Full
 *     Correct -> Full, Predict
 *
 * Any other transition is refused, and ten steps of Full follow. What a step of a phase does is not known here; true
 * steps are counted where they are paid for (hyb_phases_spend), and by them the budget goes: both a run that predicts
 * and one that does not have a rate of zero at the same cost. */
#ifndef HYB_PREDICT_PHASE_C
#define HYB_PREDICT_PHASE_C
#include "arms.c"
#include "features.c"
#include "monitor.c"

#define HYB_OUTCOMES     100
#define HYB_PHASE_ERRORS 50
#define HYB_ILLEGAL_FULL 10   /* steps of Full after an illegal transition */
#define HYB_PREDICT_FROM 0.05 /* part of the budget before which nothing is predicted */
#define HYB_JUMP_GAP     200  /* true steps between two jumps (B, C) */
#define HYB_JUMP_DRIFT   0.02 /* of the rate in 100 steps, beyond which there are no jumps */
#define HYB_ERROR_LOW    0.05 /* of a prediction: |l - predicted| */

typedef enum hyb_phase_rule { HYB_RULE_AUTO = 0, HYB_RULE_STATIC, HYB_RULE_ADAPTIVE } hyb_phase_rule;
typedef enum hyb_phase_result { HYB_PHASE_OK = 0, HYB_PHASE_ILLEGAL } hyb_phase_result;

/* Zero stands for what is usual. */
typedef struct hyb_phases_desc {
    hyb_phase_rule rule;
    int64_t n_steps;         /* budget, in true steps; 0: no end is known */
    int32_t warmup_steps;    /* 0: 100 */
    int32_t full_steps;      /* 0: 20 */
    int32_t window;          /* true steps between two decisions in AUTO; 0: 20 */
    int32_t max_predict;     /* 0: 15 */
    int32_t max_consecutive; /* predictions in a row in STATIC and ADAPTIVE; 0: 5 */
    int32_t correct_steps;   /* 0: 5 */
    double threshold;        /* of confidence; 0: 0.85 */
    double predict_until;    /* part of the budget after which there are no jumps; 0: 0.75 */
} hyb_phases_desc;

/* What is known before a step. */
typedef struct hyb_phase_look {
    double confidence;        /* 0 to 1 */
    hyb_severity severity;    /* of the last step */
    bool rate_jumped;         /* the learning rate of the coming step is far from that of the last one */
    double rate_drift;        /* |change| of the rate over the last 100 steps, as a part of it */
    double health, stability; /* ADAPTIVE: 0 to 1 */
    double lengthen;          /* factor of a prediction's length; 0, 1: as usual */
    int64_t most;             /* steps that a prediction may go; 0: any; -1: none */
    int32_t arm;              /* AUTO: what is to be done; the others: how, where they say that it is time */
} hyb_phase_look;

typedef struct hyb_phase_order {
    hyb_phase phase;  /* that the step belongs to */
    bool begins;      /* it is the first of its phase */
    int32_t step;     /* from 0, in the phase */
    int32_t length;   /* of the phase */
    int32_t arm;      /* of a Predict phase, and of the Correct after it */
    double scale;     /* what the increments of A and B are multiplied by, after the monitor asked for shorter ones; the
                       * others have fewer steps then */
    bool is_true;     /* it is a step with gradients: all but those of Predict, and of these every interval-th */
    bool ends_window; /* AUTO: and a window ends with it */
    const char *why;  /* for the log */
} hyb_phase_order;

typedef struct hyb_phases {
    hyb_phases_desc desc;              /* with every zero replaced */
    int64_t phase, arm, length, step;  /* step: of the phase, that comes next */
    int64_t consecutive;               /* predictions without a Full between them that was chosen */
    int64_t forced;                    /* steps of Full that were asked for; 0: none */
    int64_t in_window;                 /* true steps since the last window's end */
    int64_t since_jump;                /* steps since the rate jumped */
    double spent, last_leap;           /* true steps; at the last prediction by B or C */
    double threshold, scale, lengthen; /* of now; lengthen: of the prediction that it is in */
    double errors[HYB_PHASE_ERRORS];   /* of predictions */
    int64_t n_errors, low_streak;      /* low ones in a row */
    int64_t good[HYB_OUTCOMES];        /* 1: a prediction that was good */
    int64_t n_outcomes;
    int64_t n_illegal, illegal; /* transitions that were refused; to which phase the last one was */
} hyb_phases;

static void hyb_phases_init(hyb_phases *p, const hyb_phases_desc *desc)
{
    hyb_phases_desc *d = &p->desc;
    memset(p, 0, sizeof *p);
    *d = *desc;
    if (d->warmup_steps <= 0) d->warmup_steps = 100;
    if (d->full_steps <= 0) d->full_steps = 20;
    if (d->window <= 0) d->window = 20;
    if (d->max_predict <= 0) d->max_predict = 15;
    if (d->max_consecutive <= 0) d->max_consecutive = 5;
    if (d->correct_steps <= 0) d->correct_steps = 5;
    if (!(d->threshold > 0)) d->threshold = 0.85;
    if (!(d->predict_until > 0)) d->predict_until = 0.75;
    p->threshold = d->threshold;
    p->length = d->warmup_steps;
    p->last_leap = -HYB_JUMP_GAP;
    p->scale = p->lengthen = 1;
}

/* ---- the clock --------------------------------------------------------------------------------------------------- */

/* cost: in true steps; a prediction that takes no pass over the data costs almost nothing. */
static void hyb_phases_spend(hyb_phases *p, double cost) { p->spent += HYB_MAX(cost, 0.0); }

/* Part of the budget that is spent, 0 to 1. */
static double hyb_phases_budget(const hyb_phases *p)
{
    return p->desc.n_steps > 0 ? hyb_clamp(p->spent / (double)p->desc.n_steps, 0.0, 1.0) : 0.5;
}

/* ---- transitions ------------------------------------------------------------------------------------------------- */

static bool hyb_phase_can_follow(int64_t from, int64_t to)
{
    switch (from) {
    case HYB_PHASE_WARMUP: return to == HYB_PHASE_FULL;
    case HYB_PHASE_FULL: return to == HYB_PHASE_FULL || to == HYB_PHASE_PREDICT || to == HYB_PHASE_CORRECT;
    case HYB_PHASE_PREDICT: return to == HYB_PHASE_CORRECT || to == HYB_PHASE_FULL;
    case HYB_PHASE_CORRECT: return to == HYB_PHASE_FULL || to == HYB_PHASE_PREDICT;
    default: return false;
    }
}

/* At least n steps of Full come next, unless it is Warmup, which is as safe. */
static void hyb_phases_force_full(hyb_phases *p, int64_t n)
{
    if (p->phase != HYB_PHASE_WARMUP) p->forced = HYB_MAX(p->forced, n);
}

/* length: steps, at least 1. */
static hyb_phase_result hyb_phases_enter(hyb_phases *p, hyb_phase to, int64_t length)
{
    if (!hyb_phase_can_follow(p->phase, to) || length < 1) {
        hyb_phases_force_full(p, HYB_ILLEGAL_FULL);
        p->n_illegal++;
        p->illegal = to;
        return HYB_PHASE_ILLEGAL;
    }
    if (to == HYB_PHASE_FULL) p->arm = HYB_ARM_OFF;
    p->phase = to;
    p->length = length;
    p->step = 0;
    return HYB_PHASE_OK;
}
#endif
