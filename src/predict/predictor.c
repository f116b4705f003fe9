/* predict/predictor: a predictor is attached to a trainer, kept in its checkpoints, and asked for numbers. */
#ifndef HYB_PREDICT_PREDICTOR_C
#define HYB_PREDICT_PREDICTOR_C
#include "named.c"
#include "loop.c"

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
    hyb_walk_same(w, (int64_t)(sizeof p->now + sizeof p->band + sizeof p->episode));
    hyb_walk_same(w, (int64_t)d->mode);
    hyb_walk_same(w, d->window);
    hyb_walk_same(w, (int64_t)d->placebo);
    hyb_walk_same(w, (int64_t)d->seed);
    hyb_walk_same(w, d->members);
    hyb_walk_same(w, (int64_t)d->rule);
    hyb_walk_same(w, (int64_t)d->tune);
    hyb_walk_same(w, p->disp.n_arenas);
    hyb_walk_same(w, p->hindsight != NULL);
    hyb_walk_same(w, p->hindsight ? p->hindsight->residuals.room : 0);
    hyb_walk_same(w, (int64_t)(sizeof p->audit + (p->hindsight ? sizeof *p->hindsight : 0)));
    hyb_walk_same(w, d->audit_every ? d->audit_steps : 0);
    hyb_walk_same(w, d->compress_rank);
    if (d->mode == HYBRID_PREDICT_D) hyb_walk_same(w, (int64_t)((double)d->fraction * 1e9));
}

static void hyb_predictor_walk(hybrid_predictor *p, hyb_byte_walk *w)
{
    hyb_predictor_walk_settings(p, w);
    if (w->failed) return;
    HYB_WALK(w, p->now);
    HYB_WALK(w, p->band);
    HYB_WALK(w, p->episode);
    HYB_WALK(w, p->x);
    hyb_features_walk(&p->features, w);
    hyb_law_walk(&p->law, w);
    hyb_conformal_walk(&p->conformal, w);
    hyb_platt_walk(&p->platt, w);
    hyb_score_walk(&p->score, w);
    hyb_monitor_walk(&p->monitor, w);
    hyb_phases_walk(&p->phases, w);
    hyb_bandit_walk(&p->bandit, w);
    hyb_steer_walk(p, w);
    HYB_WALK(w, p->audit);
    if (p->desc.mode == HYBRID_PREDICT_D) HYB_WALK(w, p->variate);
    if (p->hindsight) hyb_hindsight_walk(p->hindsight, w);
    if (!p->world) return;
    hyb_world_walk(p->world, w);
    HYB_WALK(w, p->forecast);
    HYB_WALK(w, p->foresees);
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
    hyb_predictor_audit_rate(p);
}

static bool hyb_predictor_has_hindsight(const hybrid_predict_desc *d)
{
    return d->keep_last || d->correct || d->residuals || d->correct_loss || d->accumulate;
}

static hybrid_result hyb_predictor_anew(hyb_rider *rider, hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_monitor_desc monitor;
    hyb_phases_desc phases;
    hyb_phase_look look;
    hyb_phase_order order;
    memset(&monitor, 0, sizeof monitor);
    monitor.sigma = (double)p->desc.sigma;
    monitor.full_steps = p->desc.full_steps;
    monitor.explodes = (double)p->desc.explodes;
    if (p->desc.vanishes != 0.01f) monitor.vanishes = (double)p->desc.vanishes; /* the monitor's own is a double */
    memset(&phases, 0, sizeof phases);
    phases.n_steps = p->t->desc.n_steps;
    phases.warmup_steps = p->desc.warmup_steps;
    phases.full_steps = p->desc.full_steps;
    phases.window = p->desc.window;
    phases.correct_steps = p->desc.correct_steps;
    phases.predict_until = (double)p->desc.predict_until;
    phases.rule = (hyb_phase_rule)p->desc.rule;
    phases.max_predict = p->desc.max_predict_steps;
    phases.max_consecutive = p->desc.max_consecutive;
    phases.threshold = (double)p->desc.confidence_threshold;
    memset(&p->now, 0, sizeof p->now);
    memset(&p->audit, 0, sizeof p->audit);
    memset(&p->variate, 0, sizeof p->variate);
    p->now.rate_factor = p->now.scale = 1;
    p->now.trust = (double)p->desc.trust;
    hyb_predictor_forget(p);
    hyb_monitor_init(&p->monitor, &monitor);
    hyb_phases_init(&p->phases, &phases);
    hyb_phases_spend(&p->phases, (double)p->t->step);
    memset(&look, 0, sizeof look);
    order = hyb_phases_next(&p->phases, &look);
    p->now.phase = (int64_t)order.phase;
    p->now.ends_window = order.ends_window;
    hyb_displacement_begin(&p->disp);
    return p->disp.be->ops->sync(p->disp.be, error);
}

static void hyb_predictor_left(hyb_rider *rider)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_displacement_free(&p->disp);
    hyb_world_destroy(p->world);
    p->world = NULL;
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

static unsigned hyb_predictor_arenas(const hybrid_predict_desc *d)
{
    unsigned has = 0;
    if (hyb_predictor_needs_s(d)) has |= HYB_HAS_S;
    if (hyb_predictor_has_hindsight(d)) has |= HYB_HAS_LAST;
    if (d->accumulate) has |= HYB_HAS_ADDED;
    if (!d->no_snapshot) has |= HYB_HAS_SNAPSHOT;
    return has;
}

static hybrid_result hyb_predictor_look_at(const hybrid_predict_desc *from, const char *function,
                                           hybrid_predict_desc *d, hybrid_error *error)
{
    hybrid_result r;
    int i;
    if (!from || !from->trainer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %s is NULL", function, from ? "desc->trainer" : "desc");
    *d = *from;
    hyb_predict_defaults(d);
    if ((r = hyb_predict_check(d, error)) != HYBRID_OK) return r;
    if (d->placebo == HYBRID_PLACEBO_RANDOM && !d->trainer->store.device->ops->is_host)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: random directions are for studies on the host alone",
                        function);
    if (d->compress_rank && !d->trainer->store.device->ops->is_host)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: compress_rank: factors are made on the host alone",
                        function);
    if (d->audit_every && d->trainer->desc.n_steps <= 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "%s: audit_every needs n_steps of the trainer: a run must not end in the middle of an audit",
                        function);
    if (d->mode == HYBRID_PREDICT_D && hyb_partial_why_not(d))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: mode D: %s", function, hyb_partial_why_not(d));
    for (i = 0; i < 4 && d->formats; i++)
        if ((r = hyb_format_check(d->phase_format[i], !d->trainer->model, function, error)) != HYBRID_OK) return r;
    return hyb_trainer_between(d->trainer, function, error);
}

static uint64_t hyb_predictor_bytes(const hybrid_predict_desc *d)
{
    const hyb_store *store = &d->trainer->store;
    const uint64_t values = hyb_displacement_values(store, hyb_predictor_arenas(d));
    const hyb_hindsight_sizes z = hyb_predictor_sizes(d);
    const uint64_t hindsight = hyb_hindsight_bytes(&z) + HYB_ALIGNED_EXTRA;
    return store->device->ops->cost(store->device, (size_t)values * sizeof(float)) + sizeof(hybrid_predictor) +
           HYB_GRAM_SUMS * sizeof(double) * (uint64_t)HYB_MAX(store->n_params, 1) +
           (hyb_predictor_has_hindsight(d) ? hindsight : 0) +
           (d->members ? hyb_world_bytes(d->trainer->rt, d->members) : 0);
}

/* What it takes for world models to learn on the GPU that trains; 0: there are none, or there is no GPU. */
static uint64_t hyb_predictor_learning_bytes(const hybrid_predict_desc *d)
{
    hyb_device *device = d->trainer->store.device;
    return d->members && !device->ops->is_host ? hyb_world_device_bytes(device, d->members) : 0;
}

HYB_BORDER(hybrid_result, hybrid_predictor_plan,
           (const hybrid_predict_desc *desc, uint64_t *bytes, hybrid_error *error), (desc, bytes, error))
{
    hybrid_predict_desc d;
    hybrid_result r;
    if (!bytes) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predictor_plan: bytes is NULL");
    *bytes = 0;
    if ((r = hyb_predictor_look_at(desc, "hybrid_predictor_plan", &d, error)) != HYBRID_OK) return r;
    *bytes = hyb_predictor_bytes(&d) + hyb_predictor_learning_bytes(&d);
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
        d->audit_every = 0;
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
    static const hyb_rider_ops ops = { hyb_predictor_splits,  hyb_predictor_measures, hyb_predictor_counts,
                                       hyb_predictor_varies,  hyb_predictor_arrived,  hyb_predictor_along,
                                       hyb_predictor_updated, hyb_predictor_between,  hyb_predictor_array,
                                       hyb_predictor_size,    hyb_predictor_give,     hyb_predictor_fits,
                                       hyb_predictor_take,    hyb_predictor_anew,     hyb_predictor_left };
    return &ops;
}

/* World models learn on the GPU that trains, if there is room for that; else on the host, as they can anywhere. */
static void hyb_predictor_create_learning(hybrid_predictor *p)
{
    const hybrid_trainer *t = p->t;
    const uint64_t bytes = hyb_predictor_learning_bytes(&p->desc), most = t->desc.max_bytes;
    hybrid_error why;
    if (!bytes) return;
    if (most && t->plan.total + p->bytes + bytes > most)
        hyb_fail(&why, HYBRID_ERROR_LIMIT, "max_bytes is %llu", (unsigned long long)most);
    else if (!hyb_world_attach(p->world, t->store.device, &why)) {
        p->bytes += bytes;
        return;
    }
    hyb_log(p->rt, HYBRID_LOG_WARN, "world models learn on the host: %s", why.message);
}

static hybrid_result hyb_predictor_create_hindsight(hybrid_predictor *p, hybrid_error *error)
{
    const hybrid_predict_desc *d = &p->desc;
    const hyb_hindsight_sizes z = hyb_predictor_sizes(d);
    const size_t bytes = hyb_hindsight_bytes(&z);
    hyb_hindsight *h;
    if (!hyb_predictor_has_hindsight(d)) return HYBRID_OK;
    if (!(h = (hyb_hindsight *)hyb_alloc_aligned(p->rt, bytes))) return hyb_fail_memory(error, bytes);
    h->corrects = d->correct;
    h->remembers = d->residuals > 0;
    h->corrects_loss = d->correct_loss;
    h->adds_up = d->accumulate;
    h->along = d->mode == HYBRID_PREDICT_A2 || d->mode == HYBRID_PREDICT_B || d->mode == HYBRID_PREDICT_C ? 2 : 1;
    p->hindsight = h;
    return HYBRID_OK;
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
    r = hyb_displacement_create(&p->disp, &t->store, t->objective->cut.real, hyb_predictor_arenas(&d), error);
    if (!r) r = hyb_predictor_create_hindsight(p, error);
    if (!r && d.members) r = hyb_world_create(rt, d.seed, d.members, &p->world, error);
    if (!r) r = hyb_predictor_anew(&p->base, error);
    if (r) {
        hyb_displacement_free(&p->disp);
        hyb_world_destroy(p->world);
        hyb_free_aligned(rt, p->hindsight);
        hyb_free(rt, p);
        hyb_runtime_release(rt);
        return r;
    }
    t->rider = &p->base;
    hyb_predictor_create_learning(p);
    hyb_upkeep_format(p);
    *predictor = p;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_predictor_destroy, (hybrid_predictor * predictor), (predictor))
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
    hyb_free_aligned(rt, predictor->hindsight);
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

static void hyb_predictor_tell_tuning(const hybrid_predictor *p, hybrid_predict_metrics *m)
{
    const hyb_steer_state *s = &p->steer.now;
    const bool looks = p->desc.tune != 0;
    int i;
    m->n_parked = p->now.n_parked;
    m->parked_bytes = (uint64_t)p->now.parked_bytes;
    for (i = 0; i < HYB_RECOVERY_COUNT; i++) m->recoveries[i] = p->now.n_recoveries[i];
    m->health = s->health;
    m->advised_rate = looks && s->advised_rate > 0 ? s->advised_rate : 1;
    m->advised_length = looks && s->advised_length > 0 ? s->advised_length : 1;
    m->advised_full = (int32_t)s->full;
    m->plateau = (int32_t)s->plateau;
    for (i = 0; i < HYB_N_GROUPS; i++) m->shortened[i] = p->steer.tuning.groups.clipped[i];
    m->reach = (int32_t)s->reach;
    m->batches = (int32_t)s->batches;
    for (i = 0; i < HYB_N_TUNES; i++) m->n_acts[i] = s->n_acts[i];
}

static void hyb_predictor_hindsight_metrics(const hyb_hindsight *h, hybrid_predict_metrics *m)
{
    int g, n = 0;
    for (g = 0; g < HYB_N_GROUPS; g++) {
        if (!h->corrector.n[g]) continue;
        n++;
        m->coefficients_error += h->corrector.before[g];
        m->corrected_error += h->corrector.after[g];
    }
    m->coefficients_error /= HYB_MAX(n, 1);
    m->corrected_error /= HYB_MAX(n, 1);
    m->n_corrected = h->n_used;
    m->n_residuals = h->residuals.n;
    m->residual_error = h->similar.before;
    m->remembered_error = h->similar.after;
    m->bytes_saved = hyb_remainder_saved(&h->remainder);
    m->n_recalled = h->n_recalled;
    m->rest_error = h->rests.before;
    m->recalled_error = h->rests.after;
    m->loss_error = h->losses.before;
    m->corrected_loss_error = h->losses.after;
    m->moved_path = h->path;
    m->true_path = h->true_path;
    m->moved_in_all = sqrt(HYB_MAX(h->added, 0.0));
    m->taken_back = h->path > 0 ? h->back / h->path : 0;
    m->gone_on = h->path > 0 ? h->on / h->path : 0;
}

static void hyb_predictor_audit_metrics(const hyb_audit *a, double window, hybrid_predict_metrics *m)
{
    const double n = (double)a->n;
    m->n_audits = a->n;
    m->audit_steps = a->n_steps;
    if (a->n) m->audit_gain = a->gained / n;
    if (a->n > 1) m->audit_error = sqrt(HYB_MAX(a->squares / n - m->audit_gain * m->audit_gain, 0.0) / (n - 1));
    m->audit_bias = a->bias * window;
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
    metrics->hindsight = now->hindsight;
    if (now->hindsight_n > 1) metrics->hindsight_error = sqrt(now->hindsight_squares / now->hindsight_n);
    metrics->cosine = now->cosine;
    metrics->moved = now->moved;
    metrics->gained = now->gained;
    metrics->gained_error = sqrt(now->gained_squares);
    metrics->coverage = predictor->band.n > 0 ? predictor->band.within / predictor->band.n : 0;
    if (predictor->band.n_windows > HYB_BAND_FIRST) {
        const double n = predictor->band.n_windows - HYB_BAND_FIRST;
        metrics->error_of_windows = predictor->band.off / n;
        metrics->error_of_last = predictor->band.off_last / n;
        metrics->error_of_law = predictor->band.off_law / n;
    }
    metrics->brier = hyb_score_brier(&predictor->score);
    metrics->ece = hyb_score_ece(&predictor->score);
    hyb_predictor_tell_tuning(predictor, metrics);
    hyb_partial_metrics(predictor, metrics);
    if (predictor->hindsight) hyb_predictor_hindsight_metrics(predictor->hindsight, metrics);
    hyb_predictor_audit_metrics(&predictor->audit, (double)predictor->desc.window, metrics);
    metrics->seconds = predictor->seconds;
    metrics->bytes = predictor->bytes;
}

HYB_BORDER(const char *, hybrid_predictor_verdict, (hybrid_predictor * predictor), (predictor))
{
    hybrid_predict_metrics m;
    if (!predictor) return "there is no predictor";
    hybrid_predictor_metrics(predictor, &m);
    if (predictor->desc.mode == HYBRID_PREDICT_D)
        snprintf(
            predictor->verdict, sizeof predictor->verdict,
            "%lld batches went back and %lld did not; losses told %.2f %% of the variance of gradients along their "
            "mean, which is %.4f %% of all their noise (a run in which all batches go back would tell what the "
            "others were worth); %lld roll-backs; losses within the band of 90 %%: %.0f %%",
            (long long)m.n_backward, (long long)m.n_forward, 100 * m.variance_removed, 100 * m.noise_removed,
            (long long)m.n_rollbacks, 100 * m.coverage);
    else if (m.n_moves)
        snprintf(predictor->verdict, sizeof predictor->verdict,
                 "%lld moves in %lld windows had done %.1f +- %.1f steps in advance of what true steps then did (a run "
                 "without them would tell whether that was a gain); %lld roll-backs; losses within the band of 90 %%: "
                 "%.0f %%",
                 (long long)m.n_moves, (long long)m.n_windows, m.gained, m.gained_error, (long long)m.n_rollbacks,
                 100 * m.coverage);
    else
        snprintf(
            predictor->verdict, sizeof predictor->verdict,
            "prediction moved nothing in %lld windows, and bought nothing; %lld roll-backs; losses within the band "
            "of 90 %%: %.0f %%",
            (long long)m.n_windows, (long long)m.n_rollbacks, 100 * m.coverage);
    return predictor->verdict;
}
#endif
