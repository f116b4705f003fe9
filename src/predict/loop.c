/* predict/loop: what happens with each true step: it is looked at, and what comes next is decided and done. Every
 * decision is a function of what was seen, so that a run has the same bits each time, and from a checkpoint on.
 *
 *     arrived    all gradients of a step are there: does the run go astray? Then it goes back to the snapshot
 *     updated    the step was taken: features, the law, the band; at the end of a window what the last move was worth
 *                is judged, and the arm is chosen; then the moves up to the next true step are made */
#ifndef HYB_PREDICT_LOOP_C
#define HYB_PREDICT_LOOP_C
#include "audit.c"
#include "mend.c"
#include "moves.c"
#include "partial.c"
#include "upkeep.c"

/* ---- before a step is taken -------------------------------------------------------------------------------------- */

static hybrid_result hyb_predictor_arrived(hyb_rider *rider, hyb_step_seen *seen, bool *again, hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    const double l = hyb_log_loss(seen->loss);
    hyb_reading reading;
    hyb_action action;
    hybrid_result r;
    p->disp.be = p->t->objective->cut.real; /* a format that was set may have exchanged it */
    if (p->audit.open) return hyb_predictor_branch_arrived(p, seen, again, error);
    memset(&reading, 0, sizeof reading);
    reading.loss = seen->loss;
    reading.has_grad = true;
    reading.grad_norm = seen->grad_norm;
    reading.has_surprise = p->band.sigma > 0 && p->conformal.n >= 32;
    if (reading.has_surprise)
        reading.surprise = HYB_MAX((l - p->band.expected) * HYB_CONFORMAL_GAUSS / HYB_MAX(hyb_band_half(p), 1e-9), 0.0);
    reading.can_go_back = p->now.can_go_back != 0;
    action = hyb_monitor_look(&p->monitor, &reading);
    r = hyb_mend_act(p, seen, &action, again, error);
    if (!r && !*again) hyb_steer_groups(p, seen);
    return r;
}

/* ---- the end of a window ----------------------------------------------------------------------------------------- */

/* What b told of the window, of some twenty windows. */
static void hyb_predictor_hindsight(hyb_predictor_state *now, const hyb_family_sums *all)
{
    const double dd = all->of[HYB_DD], db = all->of[HYB_DB], bb = all->of[HYB_BB];
    double off;
    if (!(bb > 0) || !(dd > 0)) return;
    now->hindsight_n = HYB_MIN(now->hindsight_n + 1, 20.0);
    off = db / bb - now->hindsight;
    now->hindsight += off / now->hindsight_n;
    now->hindsight_squares += (off * off - now->hindsight_squares) / now->hindsight_n;
    now->cosine += (db / sqrt(dd * bb) - now->cosine) / now->hindsight_n;
}

static void hyb_predictor_geometry(const hybrid_predictor *p, const hyb_family_sums *sums, hyb_geometry *g)
{
    const hyb_family_sums *all = &sums[HYB_FAMILY_ALL];
    const double dd = all->of[HYB_DD], db = all->of[HYB_DB], bb = all->of[HYB_BB], ds = all->of[HYB_DS],
                 ss = all->of[HYB_SS];
    int i;
    memset(g, 0, sizeof *g);
    g->d = sqrt(dd);
    g->b = sqrt(bb);
    if (p->disp.mean) g->r = sqrt(all->of[HYB_RR]);
    if (p->disp.last && dd * all->of[HYB_RR] > 0) g->cos_prev = all->of[HYB_DR] / sqrt(dd * all->of[HYB_RR]);
    g->cos_b = dd * bb > 0 ? db / sqrt(dd * bb) : 0;
    g->cos_s = dd * ss > 0 ? ds / sqrt(dd * ss) : 0;
    g->hindsight = bb > 0 ? db / bb : 0;
    g->unexplained = dd * bb > 0 ? 1 - db * db / (dd * bb) : 1;
    for (i = 0; i < HYB_N_GROUPS; i++)
        g->by_group[i] = sums[i].of[HYB_BB] > 0 ? sums[i].of[HYB_DB] / sums[i].of[HYB_BB] : 0;
    g->law_residual = p->law.residual;
    g->law_slope = hyb_law_slope(&p->law, p->law.total) * p->features.last.rate * p->desc.window;
    g->weights = sqrt(p->now.weights);
    g->bias2 = 1 - pow((double)p->t->desc.beta2, (double)p->t->step);
}

/* What the last move was worth, now that a window of true steps has gone on from it: the part of this window's way that
 * it had gone in advance, less what it had gone back of the window before. Directions that lead nowhere have only gone
 * back. Of b's d that of the window before is 1 - mu, about, where it is not kept apart. */
static void hyb_predictor_judge_move(hybrid_predictor *p, const hyb_family_sums *sums)
{
    const hyb_family_sums *all = &sums[HYB_FAMILY_ALL];
    hyb_episode *e = &p->episode;
    const double dd = all->of[HYB_DD], along_b = e->b + e->d * (1 - (double)p->desc.mu);
    const bool moved = e->open == HYB_EPISODE_MOVED, judged = (moved || e->open == HYB_EPISODE_PAPER) && dd > 0;
    double reward = 0;
    e->open = moved ? HYB_EPISODE_CORRECT : HYB_EPISODE_NONE;
    if (judged && p->hindsight)
        reward = hyb_clamp(hyb_hindsight_worth(p->hindsight, sums), -1.0, 1.0);
    else if (judged)
        reward = hyb_clamp((along_b * all->of[HYB_DB] + e->s * all->of[HYB_DS]) / dd, -1.0, 1.0);
    if (moved && judged) reward = hyb_predictor_audited(p, reward);
    if (p->world) hyb_mind_learn_of(p, sums, judged && moved, reward);
    if (judged) {
        hyb_bandit_reward(&p->bandit, (int)e->arm, e->context, reward);
        p->now.worth += HYB_MAX(0.25, 1 / ++p->now.n_worth) * (reward - p->now.worth);
    }
    if (!judged || !moved) return;
    p->said = hyb_platt_of(&p->platt, e->confidence);
    p->worth = reward * p->desc.window;
    hyb_score_add(&p->score, p->said, reward > 0);
    hyb_platt_add(&p->platt, e->confidence, reward > 0);
    p->now.gained += reward * p->desc.window;
    p->now.gained_squares += reward * reward * p->desc.window * p->desc.window;
    p->now.n_gained++;
    hyb_features_judge(&p->features, reward > 0, 0, reward * p->desc.window);
}

/* What the window turned out to be, against what was foretold. What is not finite is left out. */
static hybrid_result hyb_predictor_look_back(hybrid_predictor *p, const hyb_family_sums *sums, hybrid_error *error)
{
    hyb_hindsight *h = p->hindsight;
    hybrid_error left_out;
    if (!h) return HYBRID_OK;
    if (hyb_hindsight_learn(h, &p->disp, sums, p->band.last, p->t->step, &left_out))
        hyb_log(p->rt, HYBRID_LOG_WARN, "%s", left_out.message);
    return h->adds_up ? hyb_displacement_size(&p->disp, p->disp.added, &h->added, error) : HYBRID_OK;
}

/* The mean loss of the window that comes is told anew, now that it is known whether weights were moved. */
static void hyb_predictor_foretell_loss(hybrid_predictor *p)
{
    const double shift = hyb_hindsight_foretell_loss(p->hindsight, p->band.ahead, p->t->step);
    p->band.ahead += shift;
    p->band.expected += shift - p->band.shift;
    p->band.shift = shift;
}

static hybrid_result hyb_predictor_window(hybrid_predictor *p, double rate, double targets, hyb_family_sums *sums,
                                          hybrid_error *error)
{
    hyb_geometry geometry;
    hybrid_result r = hyb_displacement_look(&p->disp, sums, error);
    if (r) return r;
    if (p->now.n_windows++ % 16 == 0 &&
        (r = hyb_displacement_size(&p->disp, p->disp.store->weights, &p->now.weights, error)) != HYBRID_OK)
        return r;
    hyb_law_window(&p->law);
    hyb_band_window(p, rate);
    hyb_steer_horizons(p);
    if ((r = hyb_steer_weigh(p, error)) != HYBRID_OK) return r;
    hyb_predictor_hindsight(&p->now, &sums[HYB_FAMILY_ALL]);
    hyb_predictor_judge_move(p, sums);
    if ((r = hyb_predictor_look_back(p, sums, error)) != HYBRID_OK) return r;
    hyb_predictor_geometry(p, sums, &geometry);
    hyb_features_window(&p->features, &geometry, p->x);
    if (p->world) hyb_mind_window(p, rate, targets);
    if (p->hindsight) hyb_predictor_foretell(p, sums);
    return HYBRID_OK;
}

/* ---- what comes next --------------------------------------------------------------------------------------------- */

/* The arm that a mode asks for; auto: what the bandit thinks of the directions of mode A. */
static int32_t hyb_predictor_arm(hybrid_predictor *p, const hyb_phase_look *look)
{
    const hybrid_predict_desc *d = &p->desc;
    hyb_choice choice;
    int32_t i;
    switch (d->mode) {
    case HYBRID_PREDICT_OFF:
    case HYBRID_PREDICT_D: return HYB_ARM_OFF; /* weights are not moved */
    case HYBRID_PREDICT_A: return HYB_ARM_A;
    case HYBRID_PREDICT_A2: return HYB_ARM_A2;
    case HYBRID_PREDICT_B:
    case HYBRID_PREDICT_C:
        for (i = d->mode == HYBRID_PREDICT_B ? HYB_ARM_B : HYB_ARM_C; i < HYB_N_ARMS - 1; i++)
            if (d->mode == HYBRID_PREDICT_B ? hyb_arms[i].horizon >= d->horizon
                                            : hyb_arms[i].interval >= d->correction_interval)
                break;
        if (d->mode == HYBRID_PREDICT_B) /* a jump that goes no farther than it may */
            while (look->most > 0 && i > HYB_ARM_B && hyb_arms[i].horizon > look->most) i--;
        return i;
    case HYBRID_PREDICT_AUTO: break;
    }
    hyb_bandit_context(p->x, p->episode.context);
    p->episode.confidence = 0;
    if (!(p->now.n_worth >= 3 && p->now.worth > 0)) return HYB_ARM_OFF; /* directions that lead nowhere, or back */
    choice = hyb_bandit_choose(&p->bandit, p->episode.context,
                               hyb_phases_legal(&p->phases, look) & hyb_arms_of(1u << HYB_WAY_A));
    p->episode.confidence = choice.p_gain;
    return choice.arm;
}

/* The ancestors' confidence in the next prediction, of numbers that mean something: how narrow the band of the loss is,
 * how many of the last predictions were good, how steady the loss is. */
static double hyb_predictor_confidence(const hybrid_predictor *p)
{
    const double hist = p->phases.n_outcomes < 10 ? 0.7 : hyb_phases_success(&p->phases);
    const double steady = HYB_MAX(0.5, 1 / (1 + 2 * fabs(p->features.fast - p->features.slow)));
    return 0.4 / (1 + (p->band.sigma > 0 ? hyb_band_half(p) : 1)) + 0.4 * hist + 0.2 * steady;
}

/* What is known of the run before the step that comes. */
static void hyb_predictor_look(hybrid_predictor *p, double rate, hyb_phase_look *look)
{
    double *before = p->now.rate_before;
    const int64_t step = p->t->step;
    int i;
    memset(look, 0, sizeof *look);
    if (step % 14 == 0) {
        for (i = 7; i > 0; i--) before[i] = before[i - 1];
        before[0] = rate;
    }
    look->severity = HYB_NORMAL;
    look->rate_jumped = p->features.since_jump == 0 && p->features.n_steps > 1;
    look->rate_drift = before[7] > 0 && rate > 0 ? fabs(rate / before[7] - 1) : 1;
    look->confidence = hyb_platt_of(&p->platt, p->episode.confidence);
    look->health = look->stability = 1;
    look->lengthen = p->steer.now.lengthen;
    look->most = hyb_steer_most(p);
    if (p->desc.rule == HYBRID_RULE_AUTO) return;
    look->confidence = hyb_predictor_confidence(p);
    if (p->desc.rule == HYBRID_RULE_ADAPTIVE) {
        const hyb_health health = hyb_health_of(&p->features, look->confidence);
        look->health = health.score;
        look->stability = health.stability;
    }
}

/* What weights would have been moved by. */
static void hyb_predictor_would_go(hybrid_predictor *p)
{
    hyb_hindsight *h = p->hindsight;
    hyb_scales scales;
    int g;
    hyb_predictor_scales(p, &scales);
    memset(h->went, 0, sizeof h->went);
    for (g = 0; g < HYB_FAMILIES + p->desc.vectors; g++) {
        h->went[g][0] = p->episode.d * scales.d[g];
        h->went[g][1] = p->episode.b * scales.along[g];
        h->went[g][2] = p->episode.s * scales.along[g];
    }
}

/* A move that is not made: what it would have been worth is known a window later all the same. So a run knows of its
 * directions before it moves along them, in the warm-up already, and learns when they are of use again. */
static void hyb_predictor_on_paper(hybrid_predictor *p)
{
    hyb_episode *e = &p->episode;
    const double eta = (double)p->desc.eta, c_b = eta * (double)p->desc.mu;
    if (p->desc.mode != HYBRID_PREDICT_AUTO || p->now.phase == HYB_PHASE_PREDICT) return;
    e->open = HYB_EPISODE_PAPER;
    e->arm = HYB_ARM_A;
    e->d = eta - 1;
    e->b = p->desc.placebo == HYBRID_PLACEBO_RANDOM ? 0 : p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -c_b : c_b;
    e->s = p->desc.placebo == HYBRID_PLACEBO_RANDOM ? c_b : 0;
    if (p->desc.placebo == HYBRID_PLACEBO_RANDOM) hyb_predictor_shuffle(p);
    if (p->hindsight) hyb_predictor_would_go(p);
    hyb_bandit_context(p->x, e->context);
}

/* One step that is predicted instead of taken. sums: of the window that ended; NULL: none did. */
static void hyb_predictor_predict(hybrid_predictor *p, const hyb_phase_order *order, double rate,
                                  const hyb_family_sums *sums)
{
    const hyb_arm *arm = &hyb_arms[order->arm];
    if (order->begins) {
        hyb_predictor_keep(p);
        p->episode.open = HYB_EPISODE_MOVED;
        p->episode.arm = order->arm;
        p->episode.d = p->episode.b = p->episode.s = p->episode.sum = p->episode.n = 0;
    }
    p->now.scale = order->scale;
    p->now.predicted = 1;
    if (p->world && arm->way == HYB_WAY_A) {
        float action[HYB_WORLD_ACTION];
        hyb_mind_action(p, arm->scale, action);
        hyb_world_act(p->world, action);
    }
    switch (arm->way) {
    case HYB_WAY_OFF: break;
    case HYB_WAY_A: hyb_predictor_move_a(p, sums, arm->scale); break;
    case HYB_WAY_B: hyb_predictor_move_s(p, arm->horizon, HYB_ANCHOR_AFTER); break;
    case HYB_WAY_A2: break; /* all its steps are true */
    case HYB_WAY_C: hyb_predictor_move_s(p, 1, HYB_ANCHOR_ALONG); break;
    }
    if (order->begins && (arm->way == HYB_WAY_A || arm->way == HYB_WAY_B)) hyb_predictor_begin_audit(p, rate);
    p->now.steps_of_phase[HYB_PHASE_PREDICT] += arm->way == HYB_WAY_B ? arm->horizon : 1;
}

/* Decides on what comes, and predicts up to the next true step. */
static void hyb_predictor_go_on(hybrid_predictor *p, double rate, const hyb_family_sums *sums)
{
    hyb_phase_order order;
    hyb_phase_look look;
    bool taken = !sums;
    hyb_predictor_look(p, rate, &look);
    if (hyb_phases_chooses(&p->phases, &look)) {
        look.arm = hyb_predictor_arm(p, &look);
        if (look.most) hyb_steer_acted(p, HYBRID_TUNE_HORIZONS);
    }
    for (order = hyb_phases_next(&p->phases, &look); !order.is_true; order = hyb_phases_next(&p->phases, &look)) {
        if (!taken && hyb_arms[order.arm].way != HYB_WAY_A) hyb_predictor_take_up(p);
        taken = true; /* mode A does it with its move */
        hyb_predictor_predict(p, &order, rate, sums);
        look.arm = HYB_ARM_OFF;
        look.rate_jumped = false;
    }
    if (!taken) {
        hyb_predictor_take_up(p);
        hyb_predictor_on_paper(p);
        hyb_partial_keep(p);
    }
    p->now.phase = (int64_t)order.phase;
    p->now.ends_window = order.ends_window;
    p->now.arm = order.arm;
}

/* ---- after a step was taken -------------------------------------------------------------------------------------- */

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
    sight.phase = p->phases.phase;
    sight.phase_step = p->phases.step;
    sight.consecutive = p->phases.consecutive;
    sight.since_predict = p->now.since_move;
    hyb_features_step(&p->features, &sight);
    hyb_law_step(&p->law, seen->loss, seen->rate);
    hyb_band_see(p, hyb_log_loss(seen->loss));
    hyb_steer_step(p);
}

/* Is it worse after a jump than the run was expected to be, beyond doubt? Mode A is judged by its windows. */
static hybrid_result hyb_predictor_judge(hybrid_predictor *p, double l, bool *back, hybrid_error *error)
{
    hyb_episode *e = &p->episode;
    double z;
    *back = false;
    if ((e->open != HYB_EPISODE_MOVED && e->open != HYB_EPISODE_CORRECT) || p->now.phase != HYB_PHASE_CORRECT)
        return HYBRID_OK;
    e->sum += l;
    e->n++;
    if (p->phases.step < p->phases.length) return HYBRID_OK;
    z = e->sigma > 0 ? (e->sum / e->n - e->expected) / (e->sigma * sqrt(1 / e->n + 0.25)) : 0;
    if (e->open == HYB_EPISODE_CORRECT) e->open = HYB_EPISODE_NONE;
    if (z < 1.96) p->now.can_go_back = 0;    /* the move stands */
    if (hyb_arms[e->arm].way == HYB_WAY_A) { /* a loss that rises at once says nothing of what a move is worth */
        hyb_phases_observe(&p->phases, z < 4, e->sum / e->n - e->expected);
        return HYBRID_OK;
    }
    hyb_phases_observe(&p->phases, z < 1.96, e->sum / e->n - e->expected);
    p->now.trust = hyb_clamp(p->now.trust * (z < 1.96 ? 1.1 : 0.5), 0.05, (double)p->desc.trust);
    if (z < 4 || !p->now.can_go_back) return HYBRID_OK;
    *back = true;
    return hyb_predictor_go_back(p, "a jump made the loss worse, and correcting it did not help", 1, 0, error);
}

static void hyb_predictor_tell(const hybrid_predictor *p, int64_t moves_before, hybrid_predict_step *told)
{
    told->event = p->now.n_moves > moves_before ? HYBRID_PREDICT_MOVED : HYBRID_PREDICT_NOTHING;
    told->moved = told->event == HYBRID_PREDICT_MOVED ? p->now.moved : 0;
    told->confidence = hyb_platt_of(&p->platt, p->episode.confidence);
    told->said = p->said;
    told->worth = p->worth;
}

static hybrid_result hyb_predictor_updated(hyb_rider *rider, const hyb_step_seen *seen, hybrid_train_metrics *metrics,
                                           hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    const uint64_t since = hyb_now_ns();
    const int64_t moves = p->now.n_moves;
    const bool ended = p->now.ends_window != 0;
    hyb_family_sums sums[HYB_FAMILY_ALL + 1];
    hybrid_result r;
    bool back;
    p->said = p->worth = 0;
    p->now.skips_in_row = 0;
    metrics->predict.phase = (hybrid_phase)p->now.phase;
    if (p->audit.open) return hyb_predictor_branch_updated(p, seen, &metrics->predict, error);
    if (p->band.sigma > 0) {
        metrics->predict.low = exp(p->band.expected - hyb_band_half(p));
        metrics->predict.high = exp(p->band.expected + hyb_band_half(p));
    }
    p->now.steps_of_phase[p->now.phase == (int64_t)HYB_PHASE_PREDICT ? (int64_t)HYB_PHASE_FULL : p->now.phase]++;
    p->now.since_move++;
    hyb_partial_learn(p);
    hyb_phases_spend(&p->phases, 1);
    hyb_predictor_see(p, seen);
    r = hyb_predictor_judge(p, hyb_log_loss(seen->loss), &back, error);
    if (!r && back) {
        metrics->predict.event = HYBRID_PREDICT_WENT_BACK;
        return HYBRID_OK;
    }
    if (!r && hyb_predictor_moves_along(p)) hyb_predictor_went_along(p, seen->rate);
    if (!r) r = hyb_mend_success(p, error);
    if (!r && ended) r = hyb_predictor_window(p, seen->rate, (double)seen->n_counted, sums, error);
    if (!r) hyb_predictor_go_on(p, seen->rate, ended ? sums : NULL);
    if (!r && ended && p->hindsight) hyb_predictor_foretell_loss(p);
    if (p->episode.open == HYB_EPISODE_MOVED && p->episode.n == 0) {
        p->episode.expected = p->band.expected;
        p->episode.sigma = p->band.sigma;
    }
    if (!r) r = hyb_mend_look(p, error);
    hyb_predictor_tell(p, moves, &metrics->predict);
    p->seconds += (double)(hyb_now_ns() - since) * 1e-9;
    return r;
}
#endif
