/* predict/predictor: the loop of prediction, as what rides on a trainer: Warmup, Full, Predict, Correct.
 *
 *     arrived    all gradients of a step are there: does the run go astray? Then back to the snapshot
 *     updated    a true step was done: it is looked at, and where a prediction is due, weights are moved
 *
 * Every decision is a function of what it has seen, so a run has the same bits each time, from a checkpoint on too. */
#ifndef HYB_PREDICT_PREDICTOR_C
#define HYB_PREDICT_PREDICTOR_C
#include "../core/fpenv.c"
#include "../train/trainer.c"
#include "displacement.c"
#include "features.c"
#include "monitor.c"
#include "settings.c"

enum { HYB_MARK = 64, HYB_PREDICTOR_VERSION = 1 };

/* What persists of windows, in hindsight: of next d = c b + the rest, c by least squares, over all windows so far. */
typedef struct hyb_hindsight {
    double n, mean, squares; /* Welford, of windows that grow old */
    double cosine;
} hyb_hindsight;

/* All that decides what comes next, besides arenas: numbers without holes, as a checkpoint has them. */
typedef struct hyb_predictor_state {
    int64_t phase, phase_step; /* hybrid_phase; true steps in it */
    int64_t steps_of_phase[4];
    int64_t in_window;     /* true steps of the window */
    int64_t forced;        /* true steps before the next prediction may be */
    int64_t since_predict; /* true steps since the last Predict phase of B and C */
    int64_t horizon_left;  /* mode C: steps that are left of the Predict phase */
    int64_t n_windows, n_moves, n_rollbacks, n_stopped, n_seen, n_within;
    int64_t can_go_back, kept_step; /* the snapshot's */
    double kept_gradient, kept_noise;
    double rate_factor;    /* of the learning rate: halved by roll-backs */
    double share, shorten; /* of the next move: what auto found; once */
    double moved, confidence, low, high;
    hyb_hindsight hindsight;
    unsigned char mark[HYB_MARK];
} hyb_predictor_state;

struct hybrid_predictor {
    hyb_rider base; /* first: a predictor rides */
    hybrid_runtime *rt;
    hybrid_trainer *t; /* NULL: it is gone */
    hybrid_predict_desc desc;
    hyb_displacement disp;
    hyb_predictor_state now;
    hyb_features features;
    hyb_monitor monitor;
    uint64_t bytes;
    double seconds, seconds_of_steps;
    char verdict[400];
};

static hybrid_predictor *hyb_predictor_of(hyb_rider *r) { return (hybrid_predictor *)(void *)r; }

/* ---- going back -------------------------------------------------------------------------------------------------- */

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

static const hyb_move hyb_no_moves[HYB_FAMILIES + 1];

/* The window is over, without a move. */
static void hyb_predictor_pass(hybrid_predictor *p)
{
    hyb_displacement_move(&p->disp, hyb_no_moves, true, p->desc.mu, p->desc.gamma, HYB_ANCHOR_AFTER);
    p->now.in_window = 0;
}

/* All that a step changes is as it was before the last move, which is left out now. */
static hybrid_result hyb_predictor_go_back(hybrid_predictor *p, const hyb_action *action, hybrid_error *error)
{
    hyb_predictor_state *now = &p->now;
    hybrid_result r;
    hyb_displacement_go_back(&p->disp);
    hyb_predictor_pass(p);
    if ((r = p->disp.be->ops->sync(p->disp.be, error)) != HYBRID_OK) return r;
    hyb_log(p->rt, HYBRID_LOG_WARN, "step %lld: %s: the run goes back to step %lld, and on by true steps",
            (long long)p->t->step + 1, action->why ? action->why : "the run goes astray", (long long)now->kept_step);
    p->t->step = now->kept_step;
    p->t->noise.gradient = now->kept_gradient;
    p->t->noise.noise = now->kept_noise;
    now->rate_factor *= action->rate > 0 ? action->rate : 1;
    p->t->rate_factor = now->rate_factor;
    now->can_go_back = 0;
    now->forced = action->steps > 0 ? action->steps : p->desc.full_steps;
    now->phase = HYBRID_PHASE_FULL;
    now->phase_step = now->horizon_left = 0;
    now->n_rollbacks++;
    hyb_monitor_rolled_back(&p->monitor);
    if (p->desc.go_back) p->desc.go_back(p->desc.user, now->mark);
    if (p->desc.go_back) hyb_fp_plain();
    return HYBRID_OK;
}

static hybrid_result hyb_predictor_arrived(hyb_rider *rider, const hyb_step_seen *seen, bool *again,
                                           hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_predictor_state *now = &p->now;
    hyb_reading reading;
    hyb_action action;
    memset(&reading, 0, sizeof reading);
    reading.loss = seen->loss;
    reading.has_grad = true;
    reading.grad_norm = seen->grad_norm;
    reading.can_go_back = now->can_go_back != 0;
    action = hyb_monitor_look(&p->monitor, &reading);
    switch (action.act) {
    case HYB_ACT_CONTINUE: break;
    case HYB_ACT_SHORTEN: now->shorten = action.shorten; break;
    case HYB_ACT_FULL: now->forced = HYB_MAX(now->forced, (int64_t)action.steps); break;
    case HYB_ACT_ROLL_BACK:
        if (!now->can_go_back) break;
        *again = true;
        return hyb_predictor_go_back(p, &action, error);
    case HYB_ACT_ABORT:
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "step %lld was not done: %s, and the run went back too often: a smaller learning rate may help",
                        (long long)seen->step, action.why ? action.why : "the run goes astray");
    }
    return HYBRID_OK;
}

/* ---- moves ------------------------------------------------------------------------------------------------------- */

/* The same for all families; vectors only where they are asked for. */
static void hyb_predictor_spread(const hybrid_predictor *p, hyb_move m, hyb_move moves[HYB_FAMILIES + 1])
{
    int i;
    memset(moves, 0, sizeof *moves * (HYB_FAMILIES + 1));
    for (i = 0; i < HYB_FAMILIES + p->desc.vectors; i++) moves[i] = m;
}

/* For studies: s becomes b with the sign of each value drawn anew, which is as long, and points nowhere. */
static void hyb_predictor_shuffle(hybrid_predictor *p)
{
    const hyb_store *store = p->disp.store;
    int64_t i;
    for (i = 0; i < store->n_values; i++) {
        uint32_t r[4];
        if (i % 128 == 0 || i == 0) hyb_philox(p->desc.seed, (uint64_t)p->now.n_windows, (uint64_t)(i / 128), r);
        p->disp.s[i] = r[i / 32 % 4] >> i % 32 & 1 ? p->disp.b[i] : -p->disp.b[i];
    }
}

/* What a window showed, before b takes it up: how well b told it. */
static void hyb_predictor_hindsight(hyb_hindsight *h, const hyb_family_sums *all)
{
    const double dd = all->of[HYB_DD], db = all->of[HYB_DB], bb = all->of[HYB_BB];
    double off;
    if (!(bb > 0) || !(dd > 0)) return;
    h->n = HYB_MIN(h->n + 1, 20.0);
    off = db / bb - h->mean;
    h->mean += off / h->n;
    h->squares += (off * off * (1 - 1 / h->n) - h->squares) / h->n;
    h->cosine += (db / sqrt(dd * bb) - h->cosine) / h->n;
}

/* The squared length of c_d d + c_b (mu b + d). */
static double hyb_move_squares(const hyb_family_sums *all, hyb_move m, double mu)
{
    const double of_d = (double)m.d + (double)m.b, of_b = (double)m.b * mu;
    return of_d * of_d * all->of[HYB_DD] + 2 * of_d * of_b * all->of[HYB_DB] + of_b * of_b * all->of[HYB_BB];
}

static bool hyb_predictor_may(const hybrid_predictor *p)
{
    return p->now.forced == 0 && p->t->step >= p->desc.warmup_steps;
}

/* Mode A at the end of a window. */
static hybrid_result hyb_predictor_window_move(hybrid_predictor *p, const hyb_family_sums *sums)
{
    hyb_predictor_state *now = &p->now;
    const hyb_family_sums *all = &sums[HYB_FAMILY_ALL];
    const double share = (p->desc.mode == HYBRID_PREDICT_AUTO ? now->share : 1) * now->shorten;
    double length;
    hyb_move m, moves[HYB_FAMILIES + 1];
    now->shorten = 1;
    memset(&m, 0, sizeof m);
    m.d = (float)(share * ((double)p->desc.eta - 1));
    m.b = (float)(share * (double)p->desc.eta * (double)p->desc.mu);
    length = sqrt(hyb_move_squares(all, m, (double)p->desc.mu) / HYB_MAX(all->of[HYB_DD], 1e-300));
    if (!hyb_predictor_may(p) || share == 0 || !(length < 1e6)) {
        now->n_stopped += p->t->step >= p->desc.warmup_steps;
        hyb_predictor_pass(p);
        return HYBRID_OK;
    }
    if (length > (double)p->desc.trust) {
        m.d *= (float)((double)p->desc.trust / length);
        m.b *= (float)((double)p->desc.trust / length);
        length = (double)p->desc.trust;
    }
    hyb_predictor_keep(p);
    if (p->desc.placebo == HYBRID_PLACEBO_MIRROR) m.b = -m.b;
    if (p->desc.placebo == HYBRID_PLACEBO_RANDOM) {
        hyb_displacement_move(&p->disp, hyb_no_moves, true, p->desc.mu, p->desc.gamma, HYB_ANCHOR_STAYS);
        hyb_predictor_shuffle(p);
        m.s = m.b;
        m.b = 0;
    }
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, p->desc.placebo != HYBRID_PLACEBO_RANDOM, p->desc.mu, p->desc.gamma,
                          HYB_ANCHOR_AFTER);
    now->in_window = 0;
    now->n_moves++;
    now->moved = length;
    return HYBRID_OK;
}

/* Along s, as far as it goes in so many steps. */
static void hyb_predictor_along_s(hybrid_predictor *p, double steps, hyb_anchor goes)
{
    hyb_move m, moves[HYB_FAMILIES + 1];
    memset(&m, 0, sizeof m);
    m.s = (float)(steps / p->desc.window * (double)p->desc.amplitude * p->now.shorten *
                  (p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -1 : 1));
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, false, p->desc.mu, p->desc.gamma, goes);
    p->now.n_moves++;
    p->now.steps_of_phase[HYBRID_PHASE_PREDICT] += (int64_t)steps;
}

static void hyb_predictor_enter(hybrid_predictor *p, hybrid_phase phase)
{
    p->now.phase = (int64_t)phase;
    p->now.phase_step = 0;
}

/* May a phase of B or C begin? */
static bool hyb_predictor_due(const hybrid_predictor *p)
{
    const int64_t n_steps = p->t->desc.n_steps;
    return hyb_predictor_may(p) && p->now.n_windows > 4 && p->now.since_predict >= p->desc.predict_every &&
           (!n_steps || (double)p->t->step < (double)p->desc.predict_until * (double)n_steps);
}

/* Modes B and C, after a true step. */
static void hyb_predictor_phases(hybrid_predictor *p, bool window_ended)
{
    hyb_predictor_state *now = &p->now;
    const int64_t interval = p->desc.correction_interval;
    if (now->phase == HYBRID_PHASE_PREDICT) { /* of mode C */
        hyb_predictor_along_s(p, (double)(interval - 1), HYB_ANCHOR_ALONG);
        now->horizon_left -= interval;
        if (now->horizon_left > 0) return;
        hyb_predictor_enter(p, HYBRID_PHASE_CORRECT);
        now->since_predict = 0;
        return;
    }
    now->since_predict++;
    if (now->phase == HYBRID_PHASE_CORRECT && now->phase_step >= p->desc.correct_steps) {
        hyb_predictor_enter(p, HYBRID_PHASE_FULL);
        hyb_displacement_anchor(&p->disp);
        now->in_window = 0;
    }
    if (now->phase != HYBRID_PHASE_FULL || !window_ended || !hyb_predictor_due(p)) return;
    hyb_predictor_keep(p);
    if (p->desc.mode == HYBRID_PREDICT_C) {
        hyb_predictor_enter(p, HYBRID_PHASE_PREDICT);
        now->horizon_left = p->desc.horizon;
        return;
    }
    hyb_predictor_along_s(p, p->desc.horizon, HYB_ANCHOR_AFTER);
    hyb_predictor_enter(p, HYBRID_PHASE_CORRECT);
    now->since_predict = 0;
}

/* Mode A2, after a true step: b is the step, s the mean step. */
static void hyb_predictor_look_ahead(hybrid_predictor *p, double rate)
{
    const int64_t n_steps = p->t->desc.n_steps;
    const double u = n_steps ? (double)p->t->step / (double)n_steps : 0.5;
    hyb_move m, moves[HYB_FAMILIES + 1];
    memset(&m, 0, sizeof m);
    if (hyb_predictor_may(p) && u < (double)p->desc.predict_until)
        m.s = (float)((double)p->desc.beta * rate / (double)p->t->desc.rate * p->now.shorten);
    if (p->desc.placebo == HYBRID_PLACEBO_MIRROR) m.s = -m.s;
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, true, 0, p->desc.gamma, HYB_ANCHOR_BEFORE);
    p->now.n_moves += m.s != 0;
}

/* ---- a true step ------------------------------------------------------------------------------------------------- */

static void hyb_predictor_see(hybrid_predictor *p, const hyb_step_seen *seen)
{
    const hybrid_trainer_desc *d = &p->t->desc;
    hyb_sight sight;
    memset(&sight, 0, sizeof sight);
    sight.loss = seen->loss;
    sight.grad_norm = seen->grad_norm;
    sight.rate = seen->rate;
    sight.peak_rate = (double)d->rate;
    sight.noise_scale = seen->noise_scale;
    sight.batch_tokens = (double)seen->n_counted;
    sight.budget = d->n_steps ? HYB_MIN((double)seen->step / (double)d->n_steps, 1.0) : 0;
    sight.accumulation = 1.0 / d->n_batches;
    sight.clipped = seen->factor < 1;
    sight.phase = p->now.phase;
    sight.phase_step = p->now.phase_step;
    sight.since_predict = p->now.since_predict;
    hyb_features_step(&p->features, &sight);
}

/* The end of a window, of all modes but A2. */
static hybrid_result hyb_predictor_window(hybrid_predictor *p, hybrid_error *error)
{
    hyb_family_sums sums[HYB_FAMILY_ALL + 1];
    hybrid_result r = hyb_displacement_look(&p->disp, sums, error);
    if (r) return r;
    p->now.n_windows++;
    hyb_predictor_hindsight(&p->now.hindsight, &sums[HYB_FAMILY_ALL]);
    if (p->desc.mode == HYBRID_PREDICT_A || p->desc.mode == HYBRID_PREDICT_AUTO)
        return hyb_predictor_window_move(p, sums);
    hyb_predictor_pass(p);
    return HYBRID_OK;
}

static void hyb_predictor_count(hybrid_predictor *p)
{
    hyb_predictor_state *now = &p->now;
    if (now->phase == HYBRID_PHASE_WARMUP && p->t->step >= p->desc.warmup_steps)
        hyb_predictor_enter(p, HYBRID_PHASE_FULL);
    if (now->phase != HYBRID_PHASE_PREDICT) now->steps_of_phase[now->phase]++;
    now->phase_step++;
    if (now->forced > 0) now->forced--;
}

static hybrid_result hyb_predictor_updated(hyb_rider *rider, const hyb_step_seen *seen, hybrid_train_metrics *metrics,
                                           hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_predictor_state *now = &p->now;
    const uint64_t since = hyb_now_ns();
    const int64_t moves = now->n_moves;
    hybrid_result r = HYBRID_OK;
    bool ended;
    metrics->predict.phase = (hybrid_phase)now->phase;
    metrics->predict.low = now->low;
    metrics->predict.high = now->high;
    hyb_predictor_see(p, seen);
    hyb_predictor_count(p);
    hyb_displacement_average(&p->disp, 0.98f);
    if (p->desc.mode == HYBRID_PREDICT_A2)
        hyb_predictor_look_ahead(p, seen->rate);
    else {
        ended = ++now->in_window >= p->desc.window;
        if (ended) r = hyb_predictor_window(p, error);
        if (!r && (p->desc.mode == HYBRID_PREDICT_B || p->desc.mode == HYBRID_PREDICT_C))
            hyb_predictor_phases(p, ended);
    }
    metrics->predict.event = now->n_moves > moves ? HYBRID_PREDICT_MOVED : HYBRID_PREDICT_NOTHING;
    metrics->predict.moved = now->moved;
    metrics->predict.confidence = now->confidence;
    p->seconds += (double)(hyb_now_ns() - since) * 1e-9;
    return r;
}

/* ---- what a checkpoint keeps ------------------------------------------------------------------------------------- */

static bool hyb_predictor_array(hyb_rider *rider, int i, hyb_rider_array *array)
{
    hyb_displacement *d = &hyb_predictor_of(rider)->disp;
    if (i == 0) {
        array->name = "hybrid.predict.arenas";
        array->values = d->anchor;
        array->n = d->n_arenas * d->store->n_values;
        return true;
    }
    if (i > 1 || !d->kept) return false;
    array->name = "hybrid.predict.kept";
    array->values = d->kept;
    array->n = (1 + d->n_arenas) * d->store->n_values + d->store->n_states;
    return true;
}

/* Settings that make it another predictor. */
static void hyb_predictor_walk_settings(hybrid_predictor *p, hyb_byte_walk *w)
{
    const hybrid_predict_desc *d = &p->desc;
    hyb_walk_same(w, HYB_PREDICTOR_VERSION);
    hyb_walk_same(w, (int64_t)sizeof p->now);
    hyb_walk_same(w, (int64_t)d->mode);
    hyb_walk_same(w, d->window);
    hyb_walk_same(w, (int64_t)d->placebo);
    hyb_walk_same(w, (int64_t)d->seed);
}

static void hyb_predictor_walk(hybrid_predictor *p, hyb_byte_walk *w)
{
    hyb_predictor_walk_settings(p, w);
    if (w->failed) return;
    HYB_WALK(w, p->now);
    hyb_features_walk(&p->features, w);
    hyb_monitor_walk(&p->monitor, w);
}

static void hyb_predictor_begin_walk(hyb_byte_walk *w, void *bytes, size_t size, bool reads)
{
    memset(w, 0, sizeof *w);
    w->at = (unsigned char *)bytes;
    w->size = size;
    w->reads = reads;
}

static size_t hyb_predictor_size(hyb_rider *rider)
{
    hyb_byte_walk w;
    hyb_predictor_begin_walk(&w, NULL, 0, false);
    hyb_predictor_walk(hyb_predictor_of(rider), &w);
    return w.n;
}
static void hyb_predictor_give(hyb_rider *rider, void *bytes, size_t size)
{
    hyb_byte_walk w;
    hyb_predictor_begin_walk(&w, bytes, size, false);
    hyb_predictor_walk(hyb_predictor_of(rider), &w);
}
static bool hyb_predictor_fits(hyb_rider *rider, const void *bytes, size_t size)
{
    hyb_byte_walk w;
    hyb_predictor_begin_walk(&w, (void *)(uintptr_t)bytes, size, true);
    hyb_predictor_walk_settings(hyb_predictor_of(rider), &w);
    return !w.failed;
}
static void hyb_predictor_take(hyb_rider *rider, const void *bytes, size_t size)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_byte_walk w;
    hyb_predictor_begin_walk(&w, (void *)(uintptr_t)bytes, size, true);
    hyb_predictor_walk(p, &w);
    p->t->rate_factor = p->now.rate_factor;
}

static hybrid_result hyb_predictor_anew(hyb_rider *rider, hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_monitor_desc monitor;
    memset(&monitor, 0, sizeof monitor);
    monitor.sigma = (double)p->desc.sigma;
    monitor.full_steps = p->desc.full_steps;
    memset(&p->now, 0, sizeof p->now);
    p->now.rate_factor = p->now.share = p->now.shorten = 1;
    p->t->rate_factor = 1;
    hyb_features_init(&p->features, 0);
    hyb_monitor_init(&p->monitor, &monitor);
    hyb_displacement_begin(&p->disp);
    return p->disp.be->ops->sync(p->disp.be, error);
}

static void hyb_predictor_left(hyb_rider *rider)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_displacement_free(&p->disp);
    p->t->rider = NULL;
    p->t->rate_factor = 1;
    p->t = NULL;
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

/* Arenas that a mode needs besides anchor and b. */
static bool hyb_predictor_needs_s(const hybrid_predict_desc *d)
{
    return d->mode == HYBRID_PREDICT_A2 || d->mode == HYBRID_PREDICT_B || d->mode == HYBRID_PREDICT_C ||
           d->placebo == HYBRID_PLACEBO_RANDOM;
}

static hybrid_result hyb_predictor_look_at(const hybrid_predict_desc *from, const char *function,
                                           hybrid_predict_desc *d, hybrid_error *error)
{
    hybrid_result r;
    if (!from || !from->trainer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %s is NULL", function, from ? "desc->trainer" : "desc");
    *d = *from;
    hyb_predict_defaults(d);
    if ((r = hyb_predict_check(d, error)) != HYBRID_OK) return r;
    if (d->placebo == HYBRID_PLACEBO_RANDOM && !d->trainer->store.device->ops->is_host)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: random directions are for studies on the host alone",
                        function);
    return hyb_trainer_between(d->trainer, function, error);
}

static uint64_t hyb_predictor_bytes(const hybrid_predict_desc *d)
{
    const hyb_store *store = &d->trainer->store;
    const uint64_t values = hyb_displacement_values(store, hyb_predictor_needs_s(d), false, !d->no_snapshot);
    return store->device->ops->cost(store->device, (size_t)values * sizeof(float)) + sizeof(hybrid_predictor) +
           HYB_GRAM_SUMS * sizeof(double) * (uint64_t)HYB_MAX(store->n_params, 1);
}

HYB_BORDER(hybrid_result, hybrid_predictor_plan,
           (const hybrid_predict_desc *desc, uint64_t *bytes, hybrid_error *error), (desc, bytes, error))
{
    hybrid_predict_desc d;
    hybrid_result r;
    if (!bytes) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predictor_plan: bytes is NULL");
    *bytes = 0;
    if ((r = hyb_predictor_look_at(desc, "hybrid_predictor_plan", &d, error)) != HYBRID_OK) return r;
    *bytes = hyb_predictor_bytes(&d);
    return HYBRID_OK;
}

/* Drops the snapshot first, then says what is missing. */
static hybrid_result hyb_predictor_room(hybrid_predict_desc *d, hybrid_error *error)
{
    const hybrid_trainer *t = d->trainer;
    const uint64_t most = t->desc.max_bytes, taken = t->plan.total;
    if (!most || taken + hyb_predictor_bytes(d) <= most) return HYBRID_OK;
    if (!d->no_snapshot) {
        d->no_snapshot = true;
        if (taken + hyb_predictor_bytes(d) <= most) {
            hyb_log(t->rt, HYBRID_LOG_WARN,
                    "max_bytes %llu: the predictor keeps no snapshot: what goes astray is stopped, and not undone",
                    (unsigned long long)most);
            return HYBRID_OK;
        }
    }
    return hyb_fail(error, HYBRID_ERROR_LIMIT,
                    "max_bytes is %llu, of which the trainer takes %llu, and a predictor at least %llu more",
                    (unsigned long long)most, (unsigned long long)taken, (unsigned long long)hyb_predictor_bytes(d));
}

static const hyb_rider_ops *hyb_predictor_ops(void)
{
    static const hyb_rider_ops ops = { hyb_predictor_arrived, hyb_predictor_updated, hyb_predictor_array,
                                       hyb_predictor_size,    hyb_predictor_give,    hyb_predictor_fits,
                                       hyb_predictor_take,    hyb_predictor_anew,    hyb_predictor_left };
    return &ops;
}

HYB_BORDER(hybrid_result, hybrid_predictor_create,
           (const hybrid_predict_desc *desc, hybrid_predictor **predictor, hybrid_error *error),
           (desc, predictor, error))
{
    hybrid_predict_desc d;
    hybrid_predictor *p;
    hybrid_trainer *t;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!predictor) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predictor_create: predictor is NULL");
    *predictor = NULL;
    if ((r = hyb_predictor_look_at(desc, "hybrid_predictor_create", &d, error)) != HYBRID_OK) return r;
    t = d.trainer;
    if (t->rider) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predictor_create: the trainer has a predictor");
    if ((r = hyb_trainer_has_weights(t, "hybrid_predictor_create", error)) != HYBRID_OK) return r;
    if ((r = hyb_predictor_room(&d, error)) != HYBRID_OK) return r;
    if ((r = hyb_runtime_retain(t->rt, &rt, error)) != HYBRID_OK) return r;
    if (!(p = (hybrid_predictor *)hyb_calloc(rt, 1, sizeof *p))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *p);
    }
    p->base.ops = hyb_predictor_ops();
    p->rt = rt;
    p->t = t;
    p->desc = d;
    p->bytes = hyb_predictor_bytes(&d);
    r = hyb_displacement_create(&p->disp, &t->store, t->objective->cut.real, hyb_predictor_needs_s(&d), false,
                                !d.no_snapshot, error);
    if (!r) r = hyb_predictor_anew(&p->base, error);
    if (r) {
        hyb_displacement_free(&p->disp);
        hyb_free(rt, p);
        hyb_runtime_release(rt);
        return r;
    }
    t->rider = &p->base;
    *predictor = p;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_predictor_destroy, (hybrid_predictor *predictor), (predictor))
{
    hybrid_runtime *rt;
    if (!predictor) return;
    rt = predictor->rt;
    if (predictor->t && hyb_busy(predictor->t->in_use)) {
        hyb_log(rt, HYBRID_LOG_ERROR,
                "hybrid_predictor_destroy: its trainer is in use: one of its callbacks called this; nothing was done");
        return;
    }
    if (predictor->t) hyb_predictor_left(&predictor->base);
    hyb_free(rt, predictor);
    hyb_runtime_release(rt);
}

HYB_BORDER_VOID(hybrid_predictor_describe, (const hybrid_predictor *predictor, hybrid_predict_desc *desc),
                (predictor, desc))
{
    if (!desc) return;
    memset(desc, 0, sizeof *desc);
    if (predictor) *desc = predictor->desc;
}

HYB_BORDER_VOID(hybrid_predictor_metrics, (const hybrid_predictor *predictor, hybrid_predict_metrics *metrics),
                (predictor, metrics))
{
    const hyb_predictor_state *now;
    int i;
    if (!metrics) return;
    memset(metrics, 0, sizeof *metrics);
    if (!predictor) return;
    now = &predictor->now;
    metrics->phase = (hybrid_phase)now->phase;
    for (i = 0; i < 4; i++) metrics->steps_of_phase[i] = now->steps_of_phase[i];
    metrics->n_windows = now->n_windows;
    metrics->n_moves = now->n_moves;
    metrics->n_rollbacks = now->n_rollbacks;
    metrics->n_stopped = now->n_stopped;
    metrics->share = now->share;
    metrics->hindsight = now->hindsight.mean;
    metrics->hindsight_error = now->hindsight.n > 1 ? sqrt(now->hindsight.squares / now->hindsight.n) : 0;
    metrics->cosine = now->hindsight.cosine;
    metrics->moved = now->moved;
    metrics->coverage = now->n_seen ? (double)now->n_within / (double)now->n_seen : 0;
    metrics->seconds = predictor->seconds;
    metrics->seconds_of_steps = predictor->seconds_of_steps;
    metrics->bytes = predictor->bytes;
}

HYB_BORDER(const char *, hybrid_predictor_verdict, (hybrid_predictor *predictor), (predictor))
{
    hybrid_predict_metrics m;
    if (!predictor) return "there is no predictor";
    hybrid_predictor_metrics(predictor, &m);
    snprintf(predictor->verdict, sizeof predictor->verdict,
             "%lld moves after %lld windows; what one window does is told by those before with a cosine of %.3f "
             "(coefficient %.3f +- %.3f); %lld roll-backs",
             (long long)m.n_moves, (long long)m.n_windows, m.cosine, m.hindsight, m.hindsight_error,
             (long long)m.n_rollbacks);
    return predictor->verdict;
}
#endif
