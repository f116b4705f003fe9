/* predict/state: a predictor: what it remembers of the run, and how the run goes back to what it was before a move. */
#ifndef HYB_PREDICT_STATE_C
#define HYB_PREDICT_STATE_C
#include "../core/fpenv.c"
#include "../train/trainer.c"
#include "bandit.c"
#include "calibration.c"
#include "displacement.c"
#include "foresee.c"
#include "features.c"
#include "hindsight.c"
#include "law.c"
#include "monitor.c"
#include "phases.c"
#include "recovery.c"
#include "settings.c"
#include "tuning.c"
#include "variate.c"

enum { HYB_MARK = 64, HYB_PREDICTOR_VERSION = 2, HYB_BAND_FIRST = 5 };

/* What the loss of the next step is expected to be, as l = log loss: where it is and where it goes, each smoothed (Holt
 * 1957), and how far single steps lie from that. The law of the loss (predict/law.c) sees farther, and less well. */
#define HYB_BAND_LEVEL        0.125 /* of the newest */
#define HYB_BAND_TREND        0.01
#define HYB_BAND_WINDOW_LEVEL 0.7
#define HYB_BAND_WINDOW_TREND 0.1
typedef struct hyb_band {
    double level, trend, squares;  /* of l; a step; of what is off: 1/64 of the newest */
    double expected, sigma;        /* of the next step; sigma 0: nothing is expected yet */
    double widen;                  /* log of what the band is wider than the deviations of late tell */
    double n_seen;                 /* steps; of those that were expected: */
    double n, within;              /* how many, and how many within the band of 90 % */
    double n_windows;              /* windows, and the sums of |error| of their mean l: */
    double off, off_last, off_law; /* as expected; by the window before; by the law */
    double last;                   /* mean l of the window before, */
    double ahead, law_ahead;       /* what was expected of this one, and by the law */
    double w_level, w_trend;       /* of windows' means; a window */
    double sum, n_steps;           /* of this one */
    double shift;                  /* of what is expected: the rest of what the corrector of losses has said */
} hyb_band;

/* A move that is not judged yet, made or on paper. */
enum {
    HYB_EPISODE_NONE,
    HYB_EPISODE_MOVED,   /* and no window has ended since */
    HYB_EPISODE_CORRECT, /* that is judged, Correct is not over */
    HYB_EPISODE_PAPER    /* nothing was moved */
};

/* How weights are moved: done again with the same arenas, it gives the same bits. */
typedef struct hyb_making {
    hyb_move moves[HYB_FAMILIES + 1];
    int64_t takes, shuffles, goes; /* b takes up d; s becomes a random one of it; hyb_anchor */
    int64_t recalls;               /* and by what similar windows left (remainder.c) */
} hyb_making;

/* A move that is tried on two branches (audit.c). Numbers alone. */
enum { HYB_AUDIT_NONE, HYB_AUDIT_WITH, HYB_AUDIT_WITHOUT };
enum { HYB_AUDIT_PROBES = 32 }; /* at most */

typedef struct hyb_audit {
    hyb_making made;
    double loss[HYB_AUDIT_PROBES]; /* l of the probes, on the branch with the move */
    double sum;                    /* of what l is larger without it */
    double slope;                  /* of l in a window, before the move */
    double worth;                  /* what the last one found, in windows */
    double bias;                   /* mean of that less what the judge said of the same move */
    double gained, squares;        /* sums over audits, steps */
    int64_t open, done;            /* the branch; its steps so far */
    int64_t since;                 /* moves since the last one */
    int64_t pending, n, n_judged;  /* the judge has not spoken yet of the last one; audits; with both */
    int64_t n_steps;               /* true steps that they took */
} hyb_audit;

typedef struct hyb_episode {
    double d, b, s;         /* coefficients of what was moved */
    double expected, sigma; /* l after it as the run went on before, and the deviation of one step */
    double confidence;      /* before calibration */
    double sum, n;          /* of l in Correct */
    double context[HYB_N_CONTEXT];
    int64_t arm, open;
} hyb_episode;

/* Numbers alone, without holes: a checkpoint has them as they are. */
typedef struct hyb_predictor_state {
    int64_t steps_of_phase[4];  /* true steps, of PREDICT those that were predicted */
    int64_t phase, ends_window; /* of the step that comes */
    int64_t arm, interval_left; /* of the Predict phase it is in */
    int64_t n_windows, n_moves, n_rollbacks, n_stopped;
    int64_t since_move;                        /* true steps */
    int64_t skips_in_row, n_illegal;           /* batches that were left out; transitions that were refused */
    int64_t predicted, n_parked, parked_bytes; /* steps were predicted since the last true one; see upkeep.c */
    int64_t n_recoveries[HYB_RECOVERY_COUNT];  /* see recovery.c */
    double weights;                            /* squares of all, some windows ago */
    double work_owed;                          /* operations that the world models may use up */
    double worth,
        n_worth; /* of the last moves, made and on paper: mean reward, 1/4 of the newest; how many there were */
    int64_t can_go_back, kept_step; /* the snapshot's */
    double kept_gradient, kept_noise;
    double rate_factor;    /* of the learning rate: halved by roll-backs */
    double scale;          /* of moves: shorter after the monitor asked for it */
    double trust;          /* rho */
    double rate_before[8]; /* of steps that are 0, 14, 28... back: how it drifts */
    double confidence, moved;
    double hindsight, hindsight_squares, cosine,
        hindsight_n; /* of d = c b + the rest, c by least squares; of 20 windows */
    double gained;   /* steps: what moves had done in advance of what true steps then did */
    double gained_squares, n_gained;
    unsigned char mark[HYB_MARK];
} hyb_predictor_state;

/* Advice, and what is needed for it. Numbers alone, without holes. */
enum { HYB_N_TUNES = 5, HYB_STEER_RING = 8 };
typedef struct hyb_steer_state {
    double rate, lengthen;                 /* that are carried out, of the next step; 1: as usual */
    double health;                         /* 0: not known */
    double advised_rate, advised_length;   /* whether they are carried out or not */
    int64_t full, plateau, reach, batches; /* see hyb_advice */
    double weights[HYB_N_GROUPS];          /* squares, of families; 0: not known */
    double ahead[HYB_N_HORIZONS][HYB_STEER_RING], before[HYB_STEER_RING]; /* what was foretold, and l then */
    int64_t n_windows;
    int64_t n_acts[HYB_N_TUNES]; /* of each part, how often it was carried out */
} hyb_steer_state;

typedef struct hyb_steer {
    hyb_tuning tuning;
    hyb_steer_state now;
} hyb_steer;

struct hybrid_predictor {
    hyb_rider base; /* first: a predictor rides */
    hybrid_runtime *rt;
    hybrid_trainer *t; /* NULL: it is gone */
    hybrid_predict_desc desc;
    hyb_displacement disp;
    hyb_predictor_state now;
    hyb_band band;
    hyb_episode episode;
    hyb_features features;
    hyb_law law;
    hyb_conformal conformal;
    hyb_platt platt;
    hyb_score score;
    hyb_monitor monitor;
    hyb_phases phases;
    hyb_bandit bandit;
    hyb_steer steer;
    hyb_audit audit;
    hyb_variate variate;      /* of mode D, */
    hyb_variate_step part;    /* and what the step that is under way has found */
    hyb_hindsight *hindsight; /* or NULL */
    hyb_world *world;         /* or NULL */
    hyb_forecast forecast;    /* of the next window, if it goes on as in mode A; foresees: there is one */
    bool foresees;
    float x[HYB_N_FEATURES]; /* of the last window */
    double said, worth;      /* of the move that was judged with this step; said 0: none was */
    uint64_t bytes;
    double seconds;
    char verdict[512];
};

static hybrid_predictor *hyb_predictor_of(hyb_rider *r) { return (hybrid_predictor *)(void *)r; }

/* ---- going back -------------------------------------------------------------------------------------------------- */

static const hyb_move *hyb_no_moves(void)
{
    static const hyb_move none[HYB_FAMILIES + 1] = { { 0, 0, 0, 0 } };
    return none;
}

/* A window is over: b and s take up what it did, and the next begins. */
static void hyb_predictor_take_up(hybrid_predictor *p)
{
    hyb_displacement_move(&p->disp, hyb_no_moves(), true, p->desc.mu, p->desc.gamma, HYB_ANCHOR_AFTER);
}

/* What the weights are before they are moved, in case it was a mistake. */
static void hyb_predictor_keep(hybrid_predictor *p)
{
    hyb_predictor_state *now = &p->now;
    if (!p->disp.kept) return;
    hyb_displacement_keep(&p->disp);
    now->can_go_back = 1;
    now->kept_step = p->t->step;
    now->kept_gradient = p->t->noise.gradient;
    now->kept_noise = p->t->noise.noise;
    if (p->desc.mark) p->desc.mark(p->desc.user, now->mark);
    if (p->desc.mark) hyb_fp_plain();
}

/* Weights, states of the optimizer, averages and the number of steps are what they were before the last move. */
static hybrid_result hyb_predictor_restore(hybrid_predictor *p, hybrid_error *error)
{
    hybrid_result r;
    hyb_displacement_go_back(&p->disp);
    if ((r = p->disp.be->ops->sync(p->disp.be, error)) != HYBRID_OK) return r;
    p->t->step = p->now.kept_step;
    p->t->noise.gradient = p->now.kept_gradient;
    p->t->noise.noise = p->now.kept_noise;
    return HYBRID_OK;
}

/* And so is the caller's place in its data. */
static void hyb_predictor_reread(hybrid_predictor *p)
{
    if (!p->desc.go_back) return;
    p->desc.go_back(p->desc.user, p->now.mark);
    hyb_fp_plain();
}

/* All of that; what was learnt of the run stays. */
static hybrid_result hyb_predictor_go_back(hybrid_predictor *p, const char *why, double rate, int64_t steps,
                                           hybrid_error *error)
{
    hyb_predictor_state *now = &p->now;
    const int64_t from = p->t->step + 1;
    hybrid_result r;
    if ((r = hyb_predictor_restore(p, error)) != HYBRID_OK) return r;
    hyb_log(p->rt, HYBRID_LOG_WARN, "step %lld: %s: the run goes back to step %lld, and on by true steps",
            (long long)from, why, (long long)now->kept_step);
    now->rate_factor *= rate > 0 ? rate : 1;
    p->t->rate_factor = now->rate_factor * p->steer.now.rate;
    now->can_go_back = 0;
    now->n_rollbacks++;
    now->trust = HYB_MAX(now->trust * 0.5, 0.05);
    hyb_phases_force_full(&p->phases, steps > 0 ? steps : p->desc.full_steps);
    p->phases.in_window = 0;
    now->ends_window = p->desc.window == 1;
    now->phase = HYB_PHASE_FULL;
    p->episode.open = HYB_EPISODE_NONE;
    p->band.shift = 0;
    if (p->hindsight) hyb_hindsight_break(p->hindsight);
    if (p->world) hyb_world_break(p->world);
    hyb_predictor_reread(p);
    return HYBRID_OK;
}

/* ---- what the next loss is expected to be ------------------------------------------------------------------------ */

/* Half of the band of 90 %. Its width follows what was seen in two ways: by the deviations of the last 200 steps, and
 * at once by each step that was within or not (Gibbs and Candes 2021), since a run that learns is never the same for
 * long. */
static double hyb_band_half(const hybrid_predictor *p)
{
    return p->conformal.factor * p->band.sigma * exp(p->band.widen);
}

/* l of a step was seen: was it within the band? Then the next one is expected. */
static void hyb_band_see(hybrid_predictor *p, double l)
{
    hyb_band *b = &p->band;
    const double ahead = b->level + b->trend, off = l - ahead;
    if (!hyb_is_finite(l)) return;
    if (b->sigma > 0) {
        const bool within = fabs(l - b->expected) <= hyb_band_half(p);
        b->n++;
        b->within += within;
        b->widen = hyb_clamp(b->widen + 0.03 * (within ? -0.1 : 0.9), -2.0, 2.0);
        hyb_conformal_add(&p->conformal, l, b->expected, b->sigma);
    }
    if (b->n_seen++ > 0) {
        const double part = HYB_MAX(HYB_BAND_LEVEL, 1 / b->n_seen);
        b->level = ahead + part * off;
        b->trend += HYB_BAND_TREND * off;
        b->squares += HYB_MAX(1.0 / 64, 1 / b->n_seen) * (off * off - b->squares);
    } else
        b->level = l;
    b->sum += l;
    b->n_steps++;
    b->shift *= 1 - HYB_BAND_LEVEL; /* level takes up as much of it */
    b->expected = b->level + b->trend + b->shift;
    b->sigma = b->n_seen > 16 ? HYB_MAX(sqrt(b->squares), 1e-4) : 0;
}

/* A window had this mean: what is expected of the next? A window is some steps' average already, so its newest value
 * counts for much. The fall of the first ones is left out of the trend: nothing later is like it. */
static void hyb_band_foretell(hyb_band *b, double mean)
{
    const double off = mean - (b->w_level + b->w_trend);
    if (b->n_windows < HYB_BAND_FIRST) {
        b->w_level = mean;
    } else {
        b->w_level = mean - (1 - HYB_BAND_WINDOW_LEVEL) * off;
        b->w_trend += HYB_BAND_WINDOW_TREND * off;
    }
    b->ahead = b->w_level + b->w_trend;
}

/* A window is over: how well was its mean told by each? rate: learning rate. */
static void hyb_band_window(hybrid_predictor *p, double rate)
{
    hyb_band *b = &p->band;
    const double mean = b->n_steps > 0 ? b->sum / b->n_steps : 0, half = 0.5 * (p->desc.window + 1);
    if (!(b->n_steps > 0)) return;
    if (b->n_windows >= HYB_BAND_FIRST) {
        b->off += fabs(mean - b->ahead);
        b->off_last += fabs(mean - b->last);
        b->off_law += fabs(mean - b->law_ahead);
    }
    b->n_windows++;
    b->last = mean;
    hyb_band_foretell(b, mean);
    b->law_ahead = p->law.fitted ? hyb_law_value(&p->law, p->law.total + rate * half) : mean;
    b->sum = b->n_steps = 0;
}
#endif
