/* predict/mend: what can go wrong in a run, found, and what is done about it carried out: the executors of recovery.c.
 *
 *     found by              fault          carried out as
 *     the monitor           OVERLONG       the next predictions are shorter
 *                           DIVERGENCE     true steps alone for a while; or, where it is critical, back to the snapshot
 *                           VANISHES       true steps alone for a while
 *                           EXPLODES       back to the snapshot
 *                           UNSTABLE       back to the snapshot
 *                           FEATURES       where there is none: the batch is left out, three in a row at most
 *     a look at itself      PREDICTOR      what it has learnt is forgotten
 *     its own success       UNCERTAIN      predictions have to be surer (rules STATIC and ADAPTIVE)
 *     the phases            TRANSITION     true steps alone for a while
 *
 * The others end a call with an error, and change nothing: the trainer, the store and hybrid_predictor_create see to
 * that. */
#ifndef HYB_PREDICT_MEND_C
#define HYB_PREDICT_MEND_C
#include "recovery.c"
#include "steer.c"

enum { HYB_SKIPS_IN_A_ROW = 3 };

/* What a recovery is given, and what came of it. */
typedef struct hyb_mend {
    hybrid_predictor *p;
    const hyb_action *action; /* the monitor's, or NULL */
    bool again;               /* the step is not taken */
    hybrid_result r;
    hybrid_error *error;
} hyb_mend;

/* ---- what is learnt ---------------------------------------------------------------------------------------------- */

/* What is expected of the arms of mode A before anything is seen: what the directions of others were worth. */
static void hyb_predictor_prior(hybrid_predictor *p)
{
    int i;
    hyb_bandit_init(&p->bandit, p->desc.seed);
    for (i = 0; i < HYB_N_ARMS; i++)
        if (hyb_arms[i].way == HYB_WAY_A) hyb_bandit_prior(&p->bandit, i, 0.05 * hyb_arms[i].scale, 0.05);
}

/* Residuals that are kept: corrections of the loss want some, coefficients as many as they are asked for. */
static hyb_hindsight_sizes hyb_predictor_sizes(const hybrid_predict_desc *d)
{
    hyb_hindsight_sizes z;
    z.store = &d->trainer->store;
    z.room = d->residuals ? d->residuals : d->correct_loss ? 64 : 1;
    z.rank = d->compress_rank;
    z.seed = d->seed;
    return z;
}
static void hyb_predictor_begin_hindsight(hybrid_predictor *p)
{
    const hyb_hindsight_sizes z = hyb_predictor_sizes(&p->desc);
    hyb_hindsight_begin(p->hindsight, &z);
}

/* All that it has learnt of the run begins anew; what it has done, the phase it is in and the snapshot stay. */
static void hyb_predictor_forget(hybrid_predictor *p)
{
    memset(&p->band, 0, sizeof p->band);
    memset(&p->episode, 0, sizeof p->episode);
    memset(p->x, 0, sizeof p->x);
    p->episode.confidence = 0.5;
    p->now.worth = p->now.n_worth = 0;
    p->now.hindsight = p->now.hindsight_squares = p->now.hindsight_n = p->now.cosine = 0;
    hyb_features_init(&p->features, p->t->model ? log((double)p->t->model->hp.n_vocab) : 0);
    hyb_law_init(&p->law);
    hyb_conformal_init(&p->conformal);
    hyb_platt_init(&p->platt);
    hyb_score_init(&p->score);
    hyb_predictor_prior(p);
    hyb_steer_init(p);
    hyb_steer_rate(p);
    p->foresees = false;
    hyb_variate_forget(&p->variate);
    if (p->world) hyb_world_begin(p->world);
    if (p->hindsight) hyb_predictor_begin_hindsight(p);
}

/* Whether its own numbers are numbers; *found: one that is not. */
static bool hyb_predictor_is_sane(const hybrid_predictor *p, double *found)
{
    const double own[] = { p->band.level,    p->band.trend,       p->band.squares,  p->band.widen,
                           p->band.w_level,  p->band.w_trend,     p->features.fast, p->platt.a,
                           p->platt.b,       p->conformal.factor, p->score.squares, p->now.worth,
                           p->now.hindsight, p->law.residual,     p->variate.k,     p->variate.after };
    size_t i;
    for (i = 0; i < HYB_COUNT(own); i++)
        if (!hyb_is_finite(*found = own[i])) return false;
    for (i = 0; i < HYB_N_FEATURES; i++)
        if (!hyb_is_finite(*found = (double)p->x[i])) return false;
    for (i = 0; p->foresees && i < HYB_COUNT(p->forecast.delta); i++)
        if (!hyb_is_finite(*found = (double)p->forecast.delta[i])) return false;
    *found = p->foresees ? (double)p->forecast.spread : 0;
    return hyb_is_finite(*found);
}

/* ---- executors --------------------------------------------------------------------------------------------------- */

/* The part of a recovery that is about phases. */
static void hyb_mend_phases(hyb_mend *m, hyb_act act, double amount)
{
    hyb_action action;
    memset(&action, 0, sizeof action);
    action.act = act;
    action.shorten = amount;
    action.steps = (int32_t)hyb_clamp(amount, 0.0, 1e9);
    hyb_phases_act(&m->p->phases, &action);
    if (act != HYB_ACT_SHORTEN) m->p->variate.rest = action.steps;
}

static bool hyb_mend_skip(void *controller, const hyb_fault *fault, double amount)
{
    hyb_mend *m = (hyb_mend *)controller;
    HYB_UNUSED(amount);
    if (m->p->now.skips_in_row >= HYB_SKIPS_IN_A_ROW) return false;
    m->p->now.skips_in_row++;
    m->again = true;
    hyb_log(m->p->rt, HYBRID_LOG_WARN, "step %lld: the loss of the batch is %g: it is left out", (long long)fault->step,
            fault->found);
    return true;
}
static bool hyb_mend_shorten(void *controller, const hyb_fault *fault, double amount)
{
    HYB_UNUSED(fault);
    hyb_mend_phases((hyb_mend *)controller, HYB_ACT_SHORTEN, amount);
    return true;
}
static bool hyb_mend_raise(void *controller, const hyb_fault *fault, double amount)
{
    hybrid_predictor *p = ((hyb_mend *)controller)->p;
    HYB_UNUSED(fault);
    if (p->desc.rule == HYBRID_RULE_AUTO) return false; /* which asks no threshold */
    hyb_phases_raise(&p->phases, amount);
    return true;
}
static bool hyb_mend_full(void *controller, const hyb_fault *fault, double amount)
{
    hyb_mend *m = (hyb_mend *)controller;
    HYB_UNUSED(fault);
    hyb_mend_phases(m, HYB_ACT_FULL, amount);
    m->p->now.n_stopped++;
    return true;
}
static bool hyb_mend_reset(void *controller, const hyb_fault *fault, double amount)
{
    hybrid_predictor *p = ((hyb_mend *)controller)->p;
    HYB_UNUSED(amount);
    hyb_predictor_forget(p);
    hyb_log(p->rt, HYBRID_LOG_WARN, "step %lld: the predictor's own numbers are not finite (%g): it begins anew",
            (long long)fault->step, fault->found);
    return true;
}
static bool hyb_mend_back(void *controller, const hyb_fault *fault, double amount)
{
    hyb_mend *m = (hyb_mend *)controller;
    hybrid_predictor *p = m->p;
    const int64_t steps = m->action ? m->action->steps : 2 * (int64_t)p->desc.full_steps;
    HYB_UNUSED(fault);
    if (!p->now.can_go_back) return false;
    hyb_mend_phases(m, HYB_ACT_ROLL_BACK, (double)steps);
    hyb_monitor_rolled_back(&p->monitor);
    m->r = hyb_predictor_go_back(p, m->action && m->action->why ? m->action->why : "the run goes astray", amount, steps,
                                 m->error);
    m->again = true;
    return true;
}

static const hyb_recover_ops *hyb_mend_ops(void)
{
    static const hyb_recover_ops ops = { { NULL, hyb_mend_skip, hyb_mend_shorten, hyb_mend_raise, hyb_mend_full,
                                           hyb_mend_reset, hyb_mend_back, NULL } };
    return &ops;
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* Recovers from a fault: by that recovery, or by what is stronger. */
static hybrid_result hyb_mend_by(hyb_mend *m, const hyb_fault *fault, hyb_recovery recovery)
{
    hyb_recovery done;
    const hybrid_result r = hyb_recover_by(hyb_mend_ops(), m, fault, recovery, &done, m->error);
    m->p->now.n_recoveries[done]++;
    return r ? r : m->r;
}

static hybrid_result hyb_mend_fault(hybrid_predictor *p, hyb_fault_kind kind, double found, double against,
                                    hybrid_error *error)
{
    hyb_mend m;
    hyb_fault fault;
    memset(&m, 0, sizeof m);
    memset(&fault, 0, sizeof fault);
    m.p = p;
    m.error = error;
    fault.kind = kind;
    fault.step = p->t->step;
    fault.found = found;
    fault.against = against;
    return hyb_mend_by(&m, &fault, hyb_recovery_of(kind));
}

/* Which fault the monitor has seen, and how much of the recovery it asks for. */
static void hyb_mend_name(const hybrid_predictor *p, const hyb_step_seen *seen, const hyb_action *action, hyb_fault *f)
{
    const bool vanishes = (action->signals & HYB_SIGNAL_VANISHES) != 0 && action->severity == HYB_WARNING;
    const bool explodes = (action->signals & HYB_SIGNAL_EXPLODES) != 0;
    memset(f, 0, sizeof *f);
    f->step = seen->step;
    f->found = seen->loss;
    f->against = exp(p->band.expected);
    f->kind = action->act == HYB_ACT_SHORTEN            ? HYB_FAULT_OVERLONG
              : action->signals & HYB_SIGNAL_NO_NUMBER  ? HYB_FAULT_UNSTABLE
              : explodes && action->act != HYB_ACT_FULL ? HYB_FAULT_EXPLODES
              : vanishes                                ? HYB_FAULT_VANISHES
                                                        : HYB_FAULT_DIVERGENCE;
    if (f->kind == HYB_FAULT_EXPLODES || f->kind == HYB_FAULT_VANISHES) {
        f->found = seen->grad_norm;
        f->against = exp(p->monitor.grad) * (vanishes ? p->monitor.vanishes : p->monitor.explodes);
    }
    f->amount = action->act == HYB_ACT_SHORTEN     ? action->shorten
                : action->act == HYB_ACT_ROLL_BACK ? action->rate
                                                   : (double)action->steps;
}

/* Carries out what the monitor asks for. *again: the step is not taken. */
static hybrid_result hyb_mend_act(hybrid_predictor *p, const hyb_step_seen *seen, const hyb_action *action, bool *again,
                                  hybrid_error *error)
{
    hyb_mend m;
    hyb_fault fault;
    hyb_recovery recovery;
    hybrid_result r;
    if (action->act == HYB_ACT_CONTINUE) return HYBRID_OK;
    memset(&m, 0, sizeof m);
    m.p = p;
    m.action = action;
    m.error = error;
    hyb_mend_name(p, seen, action, &fault);
    recovery = action->act == HYB_ACT_SHORTEN ? HYB_RECOVERY_SHORTEN
               : action->act == HYB_ACT_FULL  ? HYB_RECOVERY_FORCE_FULL
                                              : HYB_RECOVERY_ROLL_BACK;
    if (action->act == HYB_ACT_ABORT) {
        const bool skips = (action->signals & HYB_SIGNAL_NO_NUMBER) != 0 && !p->now.can_go_back &&
                           p->now.skips_in_row < HYB_SKIPS_IN_A_ROW;
        fault.kind = HYB_FAULT_FEATURES;
        recovery = skips ? HYB_RECOVERY_SKIP_BATCH : HYB_RECOVERY_ABORT;
    }
    r = hyb_mend_by(&m, &fault, recovery);
    *again = m.again;
    if (action->act != HYB_ACT_ABORT || m.again) return r;
    return hyb_fail(error, HYBRID_ERROR_NUMERIC, "step %lld was not done: %s; a smaller learning rate may help",
                    (long long)seen->step, action->why ? action->why : "the run goes astray");
}

/* Predictions are held to what they claim: success of the last ones, every ten of them. */
static hybrid_result hyb_mend_success(hybrid_predictor *p, hybrid_error *error)
{
    const hyb_phases *phases = &p->phases;
    const double success = hyb_phases_success(phases);
    if (p->desc.rule == HYBRID_RULE_AUTO || !phases->n_outcomes || phases->n_outcomes % 10) return HYBRID_OK;
    if (success >= phases->threshold - 0.2) return HYBRID_OK;
    return hyb_mend_fault(p, HYB_FAULT_UNCERTAIN, success, phases->threshold, error);
}

/* After a step: does it look sane itself, and was a transition refused? */
static hybrid_result hyb_mend_look(hybrid_predictor *p, hybrid_error *error)
{
    double found = 0;
    hybrid_result r = HYBRID_OK;
    if (!hyb_predictor_is_sane(p, &found)) r = hyb_mend_fault(p, HYB_FAULT_PREDICTOR, found, p->band.last, error);
    if (!r && p->phases.n_illegal > p->now.n_illegal) {
        p->now.n_illegal = p->phases.n_illegal;
        r = hyb_mend_fault(p, HYB_FAULT_TRANSITION, (double)p->phases.illegal, (double)p->phases.phase, error);
    }
    return r;
}
#endif
