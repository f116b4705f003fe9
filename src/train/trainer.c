/* train/trainer: the loop: batches through an objective, which gives losses and gradients, and an optimizer, which
 * changes the weights. */
#ifndef HYB_TRAIN_TRAINER_C
#define HYB_TRAIN_TRAINER_C
#include "../api/trainer.h"
#include "../core/lifetime.c"
#include "optimizer.c"
#include "schedule.c"
#include "transformer.c"

/* What is done next of a step. */
typedef enum hyb_step_stage {
    HYB_STEP_NONE,  /* there is none under way */
    HYB_STEP_BATCH, /* begin a batch */
    HYB_STEP_WORK,  /* a piece of it */
    HYB_STEP_UPDATE /* all gradients are there */
} hyb_step_stage;

/* A step that is under way. */
typedef struct hyb_step {
    hyb_step_stage stage;
    const hybrid_train_batch *batches;
    int i_batch;
    int64_t n_counted; /* targets of all batches */
    double weight;     /* their weights */
    double loss;       /* the sum, of the batches that are done */
    uint64_t since;
    hybrid_train_metrics metrics; /* of the step, once it is done */
} hyb_step;

struct hybrid_trainer {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_trainer_desc desc;
    hyb_device host;
    hyb_store store;
    const hyb_optimizer *optimizer;
    hyb_objective *objective;
    int64_t step; /* steps done */
    hyb_step now;
    unsigned char *user; /* the caller's bytes, which go with the checkpoints */
    size_t user_size;
    bool torn; /* a checkpoint was read in part: nothing can be done but to read one */
};

/* ---- create ------------------------------------------------------------------------------------------------------ */

static hybrid_result hyb_trainer_defaults(const hybrid_trainer_desc *from, hybrid_trainer_desc *d, hybrid_error *error)
{
    hybrid_result r;
    *d = *from;
    if (!d->n_batches) d->n_batches = 1;
    if (d->rate == 0) d->rate = 3e-4f;
    if (d->beta1 == 0) d->beta1 = 0.9f;
    if (d->beta2 == 0) d->beta2 = 0.95f;
    if (d->eps == 0) d->eps = 1e-8f;
    if ((r = hyb_transformer_sizes(from->model, d, error)) != HYBRID_OK) return r;
    if (d->n_batches < 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: n_batches %d must be at least 1",
                        d->n_batches);
    if (!(d->rate > 0) || !(d->beta1 >= 0 && d->beta1 < 1) || !(d->beta2 >= 0 && d->beta2 < 1) || !(d->eps > 0) ||
        !(d->decay >= 0) || !(d->clip >= 0) || !(d->rate_end >= 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: rate %g and eps %g must be positive, beta1 %g and beta2 %g below 1, "
                        "decay %g, clip %g and rate_end %g not negative",
                        (double)d->rate, (double)d->eps, (double)d->beta1, (double)d->beta2, (double)d->decay,
                        (double)d->clip, (double)d->rate_end);
    return hyb_schedule_check(d, error);
}

/* What is trained, its gradients and states, and the objective over it. */
static hybrid_result hyb_trainer_build(hybrid_trainer *t, hybrid_error *error)
{
    hyb_store *s = &t->store;
    hybrid_result r = hyb_transformer_params(s, t->rt, &t->host, t->model, error);
    int i;
    if (r) return r;
    for (i = 0; i < s->n_params; i++)
        s->params[i].decays = s->params[i].group != HYB_GROUP_VECTOR || t->desc.decay_vectors;
    t->optimizer = hyb_optimizer_of(&t->desc);
    hyb_optimizer_states(t->optimizer, &t->desc, s);
    if ((r = hyb_store_allocate(s, error)) != HYBRID_OK) return r;
    return hyb_transformer_create(t->rt, t->model, &t->desc, s, &t->objective, error);
}

HYB_BORDER_VOID(hybrid_trainer_destroy, (hybrid_trainer *trainer), (trainer))
{
    hybrid_runtime *rt;
    if (!trainer) return;
    rt = trainer->rt;
    if (trainer->objective) trainer->objective->ops->destroy(trainer->objective);
    hyb_store_free(&trainer->store);
    hyb_free(rt, trainer->user);
    hyb_free(rt, trainer);
    hyb_runtime_release(rt);
}

HYB_BORDER(hybrid_result, hybrid_trainer_create,
           (const hybrid_trainer_desc *desc, hybrid_trainer **trainer, hybrid_error *error), (desc, trainer, error))
{
    hybrid_trainer *t;
    hybrid_runtime *rt;
    hybrid_trainer_desc d;
    hybrid_result r;
    if (trainer) *trainer = NULL;
    if (!desc || !trainer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: %s is NULL", desc ? "trainer" : "desc");
    if ((r = hyb_transformer_check(desc->model, error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_defaults(desc, &d, error)) != HYBRID_OK) return r;
    if ((r = hyb_runtime_retain(desc->model->rt, &rt, error)) != HYBRID_OK) return r;
    if (!(t = (hybrid_trainer *)hyb_calloc(rt, 1, sizeof *t))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *t);
    }
    t->rt = rt;
    t->model = desc->model;
    t->desc = d;
    hyb_host_device(&t->host, rt);
    if ((r = hyb_trainer_build(t, error)) != HYBRID_OK) {
        hybrid_trainer_destroy(t);
        return r;
    }
    *trainer = t;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_trainer_describe, (const hybrid_trainer *trainer, hybrid_trainer_desc *desc), (trainer, desc))
{
    if (!desc) return;
    memset(desc, 0, sizeof *desc);
    if (trainer) *desc = trainer->desc;
}

/* ---- step --------------------------------------------------------------------------------------------------------
 *
 * A step is a machine that can be left after every piece of work: begin, then advance until its stage is NONE. A
 * failure ends it; weights and states are changed by the very last piece alone. */

static hybrid_result hyb_trainer_ready(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    if (!t->torn) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s: loading a checkpoint failed halfway, so the weights are a mixture of two: load one again",
                    function);
}

/* Looks at the batches, which stay the caller's until the step is done. */
static hybrid_result hyb_step_begin(hybrid_trainer *t, const hybrid_train_batch *batches, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hyb_step *now = &t->now;
    hybrid_result r;
    int i;
    memset(now, 0, sizeof *now);
    now->since = hyb_now_ns();
    for (i = 0; i < t->desc.n_batches; i++)
        if ((r = o->ops->look(o, &batches[i], &now->n_counted, &now->weight, error)) != HYBRID_OK) return r;
    if (!(now->weight > 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a step without targets that count: nothing can be learned of it");
    if ((r = hyb_store_clear(&t->store, t->store.grads, t->store.n_values, error)) != HYBRID_OK) return r;
    now->batches = batches;
    now->stage = HYB_STEP_BATCH;
    return HYBRID_OK;
}

/* All gradients are there: their norm, and the update. */
static hybrid_result hyb_step_update(hybrid_trainer *t, hybrid_error *error)
{
    const hybrid_trainer_desc *d = &t->desc;
    hyb_step *now = &t->now;
    hyb_backend *be = t->objective->be;
    const double loss = now->loss / (double)now->n_counted;
    hyb_update u;
    double norm;
    hybrid_result r = hyb_store_squares(&t->store, be, &norm, error);
    if (r) return r;
    norm = sqrt(norm);
    if (!(norm < (double)HUGE_VALF) || !(loss < (double)HUGE_VALF))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "step %lld was not done: the loss is %g and the norm of its gradients %g; a smaller learning "
                        "rate, or clipping, may help",
                        (long long)t->step + 1, loss, norm);
    u.desc = d;
    u.store = &t->store;
    u.be = be;
    u.rate = hyb_schedule_rate(d, t->step);
    u.factor = d->clip > 0 && norm > (double)d->clip ? (double)d->clip / norm : 1;
    u.step = t->step + 1;
    hyb_optimizer_update(t->optimizer, &u);
    t->step++;
    now->metrics.step = t->step;
    now->metrics.n_tokens = now->n_counted;
    now->metrics.loss = loss;
    now->metrics.grad_norm = norm;
    now->metrics.rate = u.rate;
    now->metrics.seconds = (double)(hyb_now_ns() - now->since) * 1e-9;
    return HYBRID_OK;
}

/* One piece of work. */
static hybrid_result hyb_step_advance(hybrid_trainer *t, hybrid_error *error)
{
    hyb_objective *o = t->objective;
    hyb_step *now = &t->now;
    hybrid_result r = HYBRID_OK;
    switch (now->stage) {
    case HYB_STEP_NONE: break;
    case HYB_STEP_BATCH:
        o->ops->begin(o, &now->batches[now->i_batch], 1 / now->weight, true);
        now->stage = HYB_STEP_WORK;
        break;
    case HYB_STEP_WORK:
        if (o->ops->work(o)) break;
        r = o->ops->end(o, &now->loss, error);
        now->stage = ++now->i_batch < t->desc.n_batches ? HYB_STEP_BATCH : HYB_STEP_UPDATE;
        break;
    case HYB_STEP_UPDATE:
        r = hyb_step_update(t, error);
        now->stage = HYB_STEP_NONE;
        break;
    }
    if (r) now->stage = HYB_STEP_NONE;
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
    if ((r = hyb_trainer_ready(t, "hybrid_trainer_step", error)) != HYBRID_OK) return r;
    r = hyb_step_begin(t, batches, error);
    while (!r && t->now.stage != HYB_STEP_NONE) r = hyb_step_advance(t, error);
    if (!r && metrics) *metrics = t->now.metrics;
    return r;
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
    if ((r = hyb_trainer_ready(trainer, "hybrid_trainer_evaluate", error)) != HYBRID_OK) return r;
    o = trainer->objective;
    if ((r = o->ops->look(o, batch, &n_counted, &weight, error)) != HYBRID_OK) return r;
    if (!n_counted) return hyb_fail(error, HYBRID_ERROR_INVALID, "a batch without targets that count has no loss");
    o->ops->begin(o, batch, 0, false);
    while (o->ops->work(o)) {}
    if ((r = o->ops->end(o, &sum, error)) != HYBRID_OK) return r;
    *loss = sum / (double)n_counted;
    return HYBRID_OK;
}
#endif
