/* train/step: a step of a trainer, and the calls that do it.
 *
 * A step is a machine that can be left after every piece of work: begin, then advance until its stage is NONE. A
 * failure ends it; weights and states are changed by the very last piece alone. */
#ifndef HYB_TRAIN_STEP_C
#define HYB_TRAIN_STEP_C
#include "trainer.c"

enum {
    HYB_STEP_KIND = HYB_SLICER_KINDS - 1,
    HYB_STEP_CLEARS = 1 << 14 /* gradients that are cleared at a time */
};

/* The targets of all ranks, and their weights. A rank whose batches are refused takes part, and says so. */
static hybrid_result hyb_step_count(hybrid_trainer *t, bool refused, hybrid_error *error)
{
    const hybrid_trainer_desc *d = &t->desc;
    hyb_step *now = &t->now;
    hybrid_result r;
    if (!d->all_reduce) return HYBRID_OK;
    hyb_reduce_numbers(now->numbers, refused ? 0 : (double)now->n_counted, refused ? 0 : now->weight, refused);
    if ((r = hyb_reduce(d, now->numbers, HYBRID_REDUCE_NUMBERS, NULL, error)) != HYBRID_OK) return r;
    if ((r = hyb_reduce_end(d, error)) != HYBRID_OK) return r;
    now->n_counted = (int64_t)hyb_reduce_join(now->numbers);
    now->weight = hyb_reduce_join(now->numbers + HYB_REDUCE_PIECES);
    if (!(now->numbers[2 * HYB_REDUCE_PIECES] > 0)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "step %lld was not done: the batches of another rank were refused, which says there why",
                    (long long)t->step + 1);
}

/* How many batches go back: all of them, unless a rider splits the step. */
static void hyb_step_split(hybrid_trainer *t)
{
    const int32_t n = t->rider ? t->rider->ops->splits(t->rider, t->desc.n_batches) : 0;
    t->now.splits = n > 0;
    t->now.n_back = t->now.splits ? HYB_MIN(n, t->desc.n_batches) : t->desc.n_batches;
}

/* Batch i was looked at: is it the last one that goes back? There is one with targets that count among these. */
static void hyb_step_looked(hyb_step *now, int i, int n)
{
    if (i + 1 != now->n_back) return;
    if (!(now->weight > 0) && now->n_back < n) now->n_back++;
    now->back_counted = (double)now->n_counted;
    now->back_weight = now->weight;
}

/* Looks at the batches, which stay the caller's until the step is done. */
static hybrid_result hyb_step_begin(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hyb_step *now = &t->now;
    hybrid_result r = HYBRID_OK, counted;
    int i;
    memset(now, 0, sizeof *now);
    o->cut.done = 0; /* a step may have been given up in the middle of its norm */
    hyb_step_split(t);
    for (i = 0; i < t->desc.n_batches && !r; i++) {
        r = o->ops->look(o, &batches[i], &now->n_counted, &now->weight, error);
        if (!i) now->first_counted = (double)now->n_counted;
        if (!i) now->first_weight = now->weight;
        hyb_step_looked(now, i, t->desc.n_batches);
    }
    counted = hyb_step_count(t, r != HYBRID_OK, r ? NULL : error);
    if (r || counted) return r ? r : counted;
    if (t->desc.all_reduce) now->back_weight = now->weight; /* of all ranks */
    if (t->desc.all_reduce) now->back_counted = (double)now->n_counted;
    if (!(now->weight > 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a step without targets that count: nothing can be learned of it");
    if (o->ops->refresh) o->ops->refresh(o);
    now->reduced = t->store.n_values;
    now->moved = t->store.moved_up + t->store.moved_down;
    if ((r = hyb_store_unpark(&t->store, o->cut.real, error)) != HYBRID_OK) return r;
    now->stage = HYB_STEP_CLEAR;
    return HYBRID_OK;
}

static void hyb_step_clear(hybrid_trainer *t)
{
    hyb_step *now = &t->now;
    const int64_t n = HYB_MIN(t->store.n_values - now->cleared, (int64_t)HYB_STEP_CLEARS);
    hyb_store_clear(t->objective->cut.real, t->store.grads + now->cleared, n);
    now->cleared += n;
    if (now->cleared == t->store.n_values) now->stage = HYB_STEP_BATCH;
}

/* Begins to add up all gradients from `from` on, but those that are. */
static hybrid_result hyb_step_reduce(hybrid_trainer *t, int64_t from, hybrid_error *error)
{
    hyb_step *now = &t->now;
    const int64_t n = now->reduced - from;
    if (n <= 0) return HYBRID_OK;
    now->reduced = from;
    return hyb_reduce(&t->desc, t->store.grads + from, n, t->objective->stream, error);
}

/* After a batch, or its measure: the next one; after the last all are there. */
static void hyb_step_next(hybrid_trainer *t)
{
    hyb_step *now = &t->now;
    const bool more = now->i_batch < t->desc.n_batches;
    now->stage = more ? HYB_STEP_BATCH : now->splits ? HYB_STEP_VARY : HYB_STEP_SUM;
}

/* A rider that splits the step is told of a batch. */
static hybrid_result hyb_step_tell(hybrid_trainer *t, const hybrid_train_batch *batch, hybrid_error *error)
{
    hyb_step *now = &t->now;
    hyb_step_batch b;
    int64_t n_counted = 0;
    hybrid_result r;
    memset(&b, 0, sizeof b);
    b.back = now->i_batch <= now->n_back;
    b.back_weight = now->back_weight;
    b.scale = t->format.scale;
    r = t->objective->ops->look(t->objective, batch, &n_counted, &b.weight, error);
    b.n_counted = (double)n_counted;
    if (n_counted) b.loss = (now->loss - now->batch_loss) / b.n_counted;
    now->batch_loss = now->loss;
    if (!r && n_counted) t->rider->ops->counts(t->rider, &b);
    return r;
}

/* A piece of what a rider does with a step that it splits. */
static hybrid_result hyb_step_show(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hybrid_result r;
    hyb_slicer_enter(&o->cut, HYB_STEP_KIND);
    r = t->rider->ops->measures(t->rider, o->be, error);
    if (!hyb_slicer_leave(&o->cut) || r) return r;
    hyb_step_next(t);
    return hyb_step_tell(t, &batches[t->now.i_batch - 1], error);
}
static hybrid_result hyb_step_vary(hybrid_trainer *t, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hybrid_result r;
    hyb_slicer_enter(&o->cut, HYB_STEP_KIND);
    r = t->rider->ops->varies(t->rider, o->be, &t->now.varied, error);
    if (hyb_slicer_leave(&o->cut)) t->now.stage = HYB_STEP_SUM;
    return r;
}

/* A batch is done. */
static hybrid_result hyb_step_worked(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_step *now = &t->now;
    const bool back = now->i_batch++ < now->n_back;
    hyb_step_next(t);
    if (now->i_batch == 1 && now->n_back > 1)
        now->stage = HYB_STEP_NOISE;
    else if (now->splits && back)
        now->stage = HYB_STEP_SHOW;
    else if (now->splits)
        return hyb_step_tell(t, &batches[now->i_batch - 1], error);
    return HYBRID_OK;
}

/* A piece of a batch. What the last one has completed goes to the other ranks at once. */
static hybrid_result hyb_step_work(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hyb_step *now = &t->now;
    const bool more = o->ops->work(o), last = now->i_batch + 1 == t->desc.n_batches;
    hybrid_result r = HYBRID_OK;
    if (!more) r = o->ops->end(o, &now->loss, error);
    if (!more && !r) r = hyb_step_worked(t, batches, error);
    if (last && !r) r = hyb_step_reduce(t, o->ready, error);
    return r;
}

/* The rest of the gradients, the losses, and what the noise of gradients is estimated from: of all ranks, so that all
 * have the same estimate. */
static hybrid_result hyb_step_sum(hybrid_trainer *t, hybrid_error *error)
{
    hyb_step *now = &t->now;
    hybrid_result r = hyb_step_reduce(t, 0, error);
    const bool has_first = now->n_back > 1 && now->first_weight > 0;
    const double up = has_first ? now->back_weight / now->first_weight : 0; /* to the mean of the first batch alone */
    now->stage = HYB_STEP_NORM;
    now->first_squares *= up * up / (t->format.scale * t->format.scale);
    now->n_first = has_first;
    if (r || !t->desc.all_reduce) return r;
    hyb_reduce_numbers(now->numbers, now->loss, now->first_squares, false);
    now->numbers[2 * HYB_REDUCE_PIECES] = has_first ? (float)now->first_counted : 0;
    now->numbers[2 * HYB_REDUCE_PIECES + 1] = has_first ? 1.0f : 0.0f;
    if ((r = hyb_reduce(&t->desc, now->numbers, HYBRID_REDUCE_NUMBERS, NULL, error)) != HYBRID_OK) return r;
    r = hyb_reduce_end(&t->desc, error);
    now->loss = hyb_reduce_join(now->numbers);
    now->n_first = (double)now->numbers[2 * HYB_REDUCE_PIECES + 1];
    if (!(now->n_first > 0)) return r;
    now->first_squares = hyb_reduce_join(now->numbers + HYB_REDUCE_PIECES) / now->n_first;
    now->first_counted = (double)now->numbers[2 * HYB_REDUCE_PIECES] / now->n_first;
    return r;
}

/* A piece of the squares of the gradients that are there; then on to the next stage. */
static hybrid_result hyb_step_norm(hybrid_trainer *t, double *squares, hyb_step_stage next, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hybrid_result r;
    hyb_slicer_enter(&o->cut, HYB_STEP_KIND);
    r = hyb_store_squares(&t->store, o->be, squares, error);
    if (hyb_slicer_leave(&o->cut)) t->now.stage = next;
    return r;
}

/* What is known of a step before its update, and in spite of it. */
static void hyb_step_metrics(hybrid_trainer *t, double loss, double norm)
{
    hybrid_train_metrics *m = &t->now.metrics;
    m->step = t->step;
    m->n_tokens = t->now.n_counted;
    m->loss = loss;
    m->grad_norm = norm;
    m->rate = hyb_schedule_rate(&t->desc, t->step);
    m->bytes = t->plan.total;
    m->moved_bytes = t->store.moved_up + t->store.moved_down - t->now.moved;
    m->format = t->format.type;
    m->n_format_changes = t->format.n_changes;
    m->format_bytes = t->format.bytes;
    m->loss_scale = t->format.scale;
    m->n_skipped = t->format.n_skipped;
}

/* A gradient is not finite: is that fp16's, and the factor of the loss too large? Then the step is left out. */
static bool hyb_step_skip(hybrid_trainer *t, double loss, double norm)
{
    hyb_format *f = &t->format;
    const double scale = f->scale;
    if (!(fabs(loss) < (double)HUGE_VALF) || !hyb_format_skip(f)) return false;
    hyb_step_metrics(t, loss, norm);
    t->now.metrics.loss_scale = scale;
    t->now.metrics.skipped = true;
    hyb_log(t->rt, HYBRID_LOG_INFO,
            "step %lld was skipped: a gradient of the loss times %g is too large for fp16; the next factor is %g",
            (long long)t->step + 1, scale, f->scale);
    return true;
}

/* What a rider is shown of a step. */
static void hyb_step_see(const hybrid_trainer *t, const hybrid_train_batch *batches, hyb_step_seen *seen)
{
    const hybrid_trainer_desc *d = &t->desc;
    memset(seen, 0, sizeof *seen);
    seen->step = t->step + 1;
    seen->n_counted = t->now.n_counted;
    seen->loss = t->now.loss / (double)t->now.n_counted;
    seen->grad_norm = sqrt(t->now.squares) / t->format.scale;
    seen->rate = hyb_schedule_rate(d, t->step) * t->rate_factor;
    seen->factor = d->clip > 0 && seen->grad_norm > (double)d->clip ? (double)d->clip / seen->grad_norm : 1;
    seen->noise_scale = hyb_noise_scale(&t->noise);
    seen->batches = batches;
}

/* The values of its adapter have changed where it trains: there may be others of them elsewhere. */
static hybrid_result hyb_trainer_adapter_changed(hybrid_trainer *t, hybrid_error *error)
{
    if (t->store.device->ops->is_host) return hyb_adapter_changed(t->desc.adapter, error);
    return hyb_adapter_fetch(t->desc.adapter, t->objective->cut.real, error);
}

/* All gradients are there, and their norm. Has the rider put weights and states back instead? */
static hybrid_result hyb_step_arrive(hybrid_trainer *t, hyb_step_seen *seen, bool *again, hybrid_error *error)
{
    hybrid_result r;
    *again = false;
    if (!t->rider) return HYBRID_OK;
    hyb_slicer_slice(&t->objective->cut, UINT64_MAX);
    t->torn = true;
    if ((r = t->rider->ops->arrived(t->rider, seen, again, error)) != HYBRID_OK) {
        t->torn = *again;
        return r;
    }
    t->torn = false;
    if (!*again) return HYBRID_OK;
    hyb_step_metrics(t, seen->loss, seen->grad_norm);
    t->now.metrics.predict.event = HYBRID_PREDICT_WENT_BACK;
    return t->desc.adapter ? hyb_trainer_adapter_changed(t, error) : HYBRID_OK;
}

/* Weights and states are those after the step: it counts, and is shown to the rider. */
static hybrid_result hyb_step_done(hybrid_trainer *t, const hyb_step_seen *seen, hybrid_error *error)
{
    hyb_step *now = &t->now;
    hybrid_train_metrics *m = &now->metrics;
    const double scale = t->format.scale;
    hyb_step_metrics(t, seen->loss, seen->grad_norm);
    m->rate = seen->rate;
    t->step++;
    hyb_format_step(&t->format);
    if (now->n_first > 0)
        hyb_noise_add(&t->noise, now->first_squares, now->first_counted, (now->squares - now->varied) / (scale * scale),
                      now->back_counted);
    m->noise_scale = hyb_noise_scale(&t->noise);
    if (t->rider) {
        const hybrid_result r = t->rider->ops->updated(t->rider, seen, m, error);
        if (r) return r;
    }
    m->step = t->step;
    return HYBRID_OK;
}

/* The update. */
static hybrid_result hyb_step_update(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    const hybrid_trainer_desc *d = &t->desc;
    const double scale = t->format.scale;
    hyb_step_seen seen;
    double loss, norm;
    hyb_update u;
    hybrid_result r;
    bool again = false;
    hyb_step_see(t, batches, &seen);
    loss = seen.loss;
    norm = seen.grad_norm;
    if (!(norm < (double)HUGE_VALF) && hyb_step_skip(t, loss, norm)) return HYBRID_OK;
    if ((r = hyb_step_arrive(t, &seen, &again, error)) != HYBRID_OK || again) return r;
    if (!(norm < (double)HUGE_VALF) || !(loss < (double)HUGE_VALF))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "step %lld was not done: the loss is %g and the norm of its gradients %g; a smaller learning "
                        "rate, or clipping, may help",
                        (long long)t->step + 1, loss, norm);
    u.desc = d;
    u.store = &t->store;
    u.be = t->objective->be;
    u.rate = seen.rate;
    u.factor = seen.factor / scale;
    u.step = t->step + 1;
    u.rider = t->rider;
    u.seen = &seen;
    hyb_slicer_slice(&t->objective->cut, UINT64_MAX); /* all of it, or weights would be a mixture */
    hyb_slicer_enter(&t->objective->cut, HYB_STEP_KIND);
    t->torn = true;
    r = hyb_optimizer_update(t->optimizer, &u, error);
    if (!r) r = hyb_ema_update(&u, error);
    if (!r) r = hyb_step_done(t, &seen, error);
    if (!r && d->adapter && !t->store.device->ops->is_host) r = hyb_adapter_fetch(d->adapter, u.be, error);
    if (!r) r = u.be->ops->sync(u.be, error); /* contexts read the weights on queues of their own */
    hyb_slicer_leave(&t->objective->cut);
    if (r) return r;
    t->torn = false;
    return d->adapter && t->store.device->ops->is_host ? hyb_adapter_changed(d->adapter, error) : HYBRID_OK;
}

/* How long it took, once a step is done. */
static void hyb_step_time(hybrid_trainer *t)
{
    hybrid_train_metrics *m = &t->now.metrics;
    m->seconds = (double)t->now.nanoseconds * 1e-9;
    if (t->now.stage != HYB_STEP_NONE || !m->n_tokens) return; /* it is under way, or failed */
    t->pace = t->pace > 0 ? t->pace + 0.1 * (m->seconds - t->pace) : m->seconds;
    m->tokens_per_second = m->seconds > 0 ? (double)m->n_tokens / m->seconds : 0;
    m->seconds_left = t->desc.n_steps > t->step ? t->pace * (double)(t->desc.n_steps - t->step) : 0;
}

/* One piece of work. */
static hybrid_result hyb_step_advance(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hyb_step *now = &t->now;
    hybrid_result r = HYBRID_OK;
    switch (now->stage) {
    case HYB_STEP_NONE: break;
    case HYB_STEP_CLEAR: hyb_step_clear(t); break;
    case HYB_STEP_BATCH:
        o->ops->begin(o, &batches[now->i_batch], 1 / now->back_weight * t->format.scale, now->i_batch < now->n_back);
        now->stage = HYB_STEP_WORK;
        break;
    case HYB_STEP_WORK: r = hyb_step_work(t, batches, error); break;
    case HYB_STEP_SHOW: r = hyb_step_show(t, batches, error); break;
    case HYB_STEP_VARY: r = hyb_step_vary(t, error); break;
    case HYB_STEP_SUM: r = hyb_step_sum(t, error); break;
    case HYB_STEP_NOISE:
        r = hyb_step_norm(t, &now->first_squares, now->splits ? HYB_STEP_SHOW : HYB_STEP_BATCH, error);
        break;
    case HYB_STEP_NORM: r = hyb_step_norm(t, &now->squares, HYB_STEP_UPDATE, error); break;
    case HYB_STEP_UPDATE:
        r = hyb_step_update(t, batches, error);
        now->stage = HYB_STEP_NONE;
        if (!r && t->rider) t->rider->ops->between(t->rider);
        break;
    }
    if (r) now->stage = HYB_STEP_NONE;
    return r;
}

/* Works on a step, which is begun if there is none, for some microseconds (UINT64_MAX: until it is done). */
static hybrid_result hyb_step_slice(hybrid_trainer *t, const hybrid_train_batch *batches, uint64_t budget_us,
                                    hybrid_error *error)
{
    const uint64_t since = hyb_now_ns(), now_us = since / 1000;
    const uint64_t until = budget_us < UINT64_MAX - now_us ? now_us + budget_us : UINT64_MAX;
    hyb_slicer *cut = &t->objective->cut;
    hybrid_result r = HYBRID_OK;
    hyb_slicer_slice(cut, until);
    t->in_use = hyb_process();
    if (t->now.stage == HYB_STEP_NONE) r = hyb_step_begin(t, batches, error);
    while (!r && t->now.stage != HYB_STEP_NONE) {
        const bool updates = t->now.stage == HYB_STEP_UPDATE;
        const uint64_t begun = until == UINT64_MAX ? 0 : hyb_now_us();
        /* what cannot be cut is left to the next slice, if it would take too long in this one */
        if (until != UINT64_MAX && updates && cut->began && begun + t->update_us > until) break;
        r = hyb_step_advance(t, batches, error);
        if (until == UINT64_MAX) continue;
        if (updates) t->update_us = hyb_now_us() - begun;
        cut->began = true;
        if (cut->late || hyb_now_us() >= until) break;
    }
    t->in_use = 0;
    t->now.nanoseconds += hyb_now_ns() - since;
    hyb_step_time(t);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_step,
           (hybrid_trainer *trainer, const hybrid_train_batch *batches, hybrid_train_metrics *metrics,
            hybrid_error *error),
           (trainer, batches, metrics, error))
{
    hybrid_trainer *t = trainer;
    hybrid_result r;
    if (!t || !batches)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_step: %s is NULL", t ? "batches" : "trainer");
    if ((r = hyb_trainer_idle(t, "hybrid_trainer_step", error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_has_weights(t, "hybrid_trainer_step", error)) != HYBRID_OK) return r;
    r = hyb_step_slice(t, batches, UINT64_MAX, error);
    if (!r && metrics) *metrics = t->now.metrics;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_work,
           (hybrid_trainer *trainer, const hybrid_train_batch *batches, uint64_t budget_us, bool *done,
            hybrid_train_metrics *metrics, hybrid_error *error),
           (trainer, batches, budget_us, done, metrics, error))
{
    hybrid_trainer *t = trainer;
    hybrid_result r;
    if (done) *done = false;
    if (!t || !batches || !done)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_work: %s is NULL",
                        !t         ? "trainer"
                        : !batches ? "batches"
                                   : "done");
    if ((r = hyb_trainer_ready(t, "hybrid_trainer_work", error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_has_weights(t, "hybrid_trainer_work", error)) != HYBRID_OK) return r;
    if ((r = hyb_step_slice(t, batches, budget_us, error)) != HYBRID_OK) return r;
    *done = t->now.stage == HYB_STEP_NONE;
    if (*done && metrics) *metrics = t->now.metrics;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_trainer_cancel, (hybrid_trainer *trainer), (trainer))
{
    if (!trainer) return;
    if (hyb_busy(trainer->in_use))
        hyb_log(trainer->rt, HYBRID_LOG_ERROR,
                "hybrid_trainer_cancel: the trainer is in use: one of its callbacks called it again; nothing was done");
    else
        trainer->now.stage = HYB_STEP_NONE;
}

HYB_BORDER(hybrid_result, hybrid_trainer_evaluate,
           (hybrid_trainer *trainer, const hybrid_train_batch *batch, double *loss, hybrid_error *error),
           (trainer, batch, loss, error))
{
    hyb_objective *o;
    int64_t n_counted = 0;
    double weight = 0, sum = 0;
    hybrid_result r;
    if (!trainer || !batch || !loss)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_evaluate: trainer, batch or loss is NULL");
    if ((r = hyb_trainer_idle(trainer, "hybrid_trainer_evaluate", error)) != HYBRID_OK) return r;
    o = trainer->objective;
    if ((r = o->ops->look(o, batch, &n_counted, &weight, error)) != HYBRID_OK) return r;
    if (!n_counted) return hyb_fail(error, HYBRID_ERROR_INVALID, "a batch without targets that count has no loss");
    hyb_slicer_slice(&o->cut, UINT64_MAX);
    trainer->in_use = hyb_process();
    if (o->ops->refresh) o->ops->refresh(o);
    o->ops->begin(o, batch, 0, false);
    while (o->ops->work(o)) {}
    r = o->ops->end(o, &sum, error);
    trainer->in_use = 0;
    if (r) return r;
    *loss = sum / (double)n_counted;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_trainer_swap_ema, (hybrid_trainer *trainer, hybrid_error *error), (trainer, error))
{
    hybrid_result r;
    if (!trainer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_swap_ema: trainer is NULL");
    if (!(trainer->desc.ema > 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_swap_ema: the trainer keeps no average: hybrid_trainer_desc.ema is 0");
    if ((r = hyb_trainer_idle(trainer, "hybrid_trainer_swap_ema", error)) != HYBRID_OK) return r;
    trainer->in_use = hyb_process();
    if ((r = hyb_ema_swap(&trainer->store, trainer->objective->cut.real, error)) == HYBRID_OK)
        trainer->swapped = !trainer->swapped;
    if (!r && trainer->desc.adapter) r = hyb_trainer_adapter_changed(trainer, error);
    trainer->in_use = 0;
    return r;
}
#endif
