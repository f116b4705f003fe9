/* train/trainer: the loop: batches through an objective, which gives losses and gradients, and an optimizer, which
 * changes the weights. */
#ifndef HYB_TRAIN_TRAINER_C
#define HYB_TRAIN_TRAINER_C
#include "../api/trainer.h"
#include "../core/lifetime.c"
#include "format.c"
#include "noise.c"
#include "optimizer.c"
#include "own.c"
#include "reduce.c"
#include "rider.c"
#include "room.c"
#include "schedule.c"

/* What is done next of a step. */
typedef enum hyb_step_stage {
    HYB_STEP_NONE,  /* there is none under way */
    HYB_STEP_CLEAR, /* some of the gradients */
    HYB_STEP_BATCH, /* begin a batch */
    HYB_STEP_WORK,  /* a piece of it */
    HYB_STEP_NOISE, /* a piece of the norm of the first batch's gradients */
    HYB_STEP_SHOW,  /* a rider that splits the step measures the gradients so far, */
    HYB_STEP_VARY,  /* and adds to those of all batches that went back */
    HYB_STEP_SUM,   /* over all ranks */
    HYB_STEP_NORM,  /* all gradients are there: a piece of their norm */
    HYB_STEP_UPDATE /* all weights */
} hyb_step_stage;

/* A step that is under way. */
typedef struct hyb_step {
    hyb_step_stage stage;
    const hybrid_train_batch *batches;
    int i_batch;
    bool splits;                          /* a rider says which batches go back: */
    int n_back;                           /* the first ones */
    double back_counted, back_weight;     /* their targets; the weights of these */
    int64_t n_counted;                    /* targets of all batches */
    double weight;                        /* their weights */
    double loss;                          /* the sum, of the batches that are done */
    double batch_loss;                    /* of the one before the last */
    double varied;                        /* what a rider added to the squares */
    double squares;                       /* of all gradients */
    double first_counted;                 /* of the first batch: targets, */
    double first_weight, first_squares;   /* their weights, squares of its gradients; */
    double n_first;                       /* then the means of this many ranks, which have such a batch */
    int64_t cleared;                      /* gradients that are zero */
    int64_t reduced;                      /* gradients from there on are being added up over all ranks */
    float numbers[HYBRID_REDUCE_NUMBERS]; /* which are added up, too */
    uint64_t moved;                       /* bytes of states that had been moved when it began */
    uint64_t nanoseconds;                 /* of the slices that are done */
    hybrid_train_metrics metrics;         /* of the step, once it is done */
} hyb_step;

struct hybrid_trainer {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_trainer_desc desc;
    hyb_device host;
    hyb_store store;
    const hyb_optimizer *optimizer;
    hyb_objective *objective;
    hyb_train_shape shape; /* of the parts of a batch */
    hybrid_train_plan plan;
    int64_t step; /* steps done */
    hyb_step now;
    hyb_noise noise;
    hyb_format format;
    hyb_rider *rider; /* or NULL, and what it makes of the learning rate */
    double rate_factor;
    double pace;         /* seconds of a step, averaged; 0: none was done */
    uint64_t update_us;  /* that the last update took */
    uint64_t in_use;     /* a call is under way: its callbacks may not begin another */
    unsigned char *user; /* the caller's bytes, which go with the checkpoints */
    size_t user_size;
    bool swapped; /* the average stands where the weights belong, and they in its place */
    bool torn;    /* a checkpoint was read in part: nothing can be done but to read one */
};

/* ---- create ------------------------------------------------------------------------------------------------------ */

static hybrid_result hyb_trainer_defaults(const hybrid_trainer_desc *from, hybrid_trainer_desc *d, hybrid_error *error)
{
    hybrid_result r;
    *d = *from;
    if (d->adapter) d->model = d->adapter->model;
    if (!d->n_batches) d->n_batches = 1;
    if (!d->own && (r = hyb_transformer_sizes(d->model, d, error)) != HYBRID_OK) return r;
    if (d->n_batches < 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: n_batches %d must be at least 1",
                        d->n_batches);
    if ((r = hyb_optimizer_defaults(d, error)) != HYBRID_OK) return r;
    if ((r = hyb_format_check(d->format, d->own != NULL, "hybrid_trainer_create", error)) != HYBRID_OK) return r;
    return hyb_schedule_check(d, error);
}

/* The rest of a plan of somebody else's model, which there is room for or not. */
static hybrid_result hyb_trainer_own_room(hybrid_trainer *t, hybrid_error *error)
{
    const hyb_limits limits = hyb_own_limits();
    hybrid_train_plan *plan = &t->plan;
    plan->other = sizeof *t + sizeof(hyb_own) + hyb_store_table_bytes(&t->store) + hyb_own_names(t->desc.own);
    plan->scratch = t->host.ops->backend_cost(&t->host, &limits);
    plan->total = plan->gradients + plan->states + plan->scratch + plan->other;
    plan->host_bytes = plan->total;
    if (!t->desc.max_bytes || plan->total <= t->desc.max_bytes) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_LIMIT, "max_bytes is %llu, and training takes %llu",
                    (unsigned long long)t->desc.max_bytes, (unsigned long long)plan->total);
}

/* What the weights take in the format of products. */
static uint64_t hyb_trainer_rounded(const hybrid_trainer *t, hybrid_type format)
{
    hyb_device *device = t->store.device;
    const size_t bytes = hyb_transformer_rounded(&t->store, t->desc.adapter, format);
    return bytes ? device->ops->cost(device, bytes) : 0;
}

/* What is trained on a device, and its states: the tables alone. Then how much there is room for. */
static hybrid_result hyb_trainer_tables_on(hybrid_trainer *t, hyb_device *device, hybrid_error *error)
{
    hyb_store *s = &t->store;
    const hybrid_trainable *own = t->desc.own;
    hybrid_adapter *adapter = t->desc.adapter;
    hybrid_result r = own       ? hyb_own_params(s, t->rt, device, own, error)
                      : adapter ? hyb_transformer_pairs(s, t->rt, device, adapter, error)
                                : hyb_transformer_params(s, t->rt, device, t->model, error);
    int i;
    if (r) return r;
    for (i = 0; i < s->n_params; i++)
        s->params[i].decays = s->params[i].group != HYB_GROUP_VECTOR || t->desc.decay_vectors;
    t->optimizer = hyb_optimizer_of(&t->desc);
    hyb_optimizer_states(t->optimizer, &t->desc, s);
    if (hyb_room_states(s, t->desc.offload_optimizer, &t->plan) == UINT64_MAX) return hyb_fail_memory(error, SIZE_MAX);
    if (own) return hyb_trainer_own_room(t, error);
    t->plan.rounded = hyb_trainer_rounded(t, t->desc.format);
    t->plan.other = sizeof *t + sizeof(hyb_transformer) + hyb_store_table_bytes(s);
    if (adapter && !adapter->kept) t->plan.other += t->host.ops->cost(&t->host, adapter->n_values * sizeof(float));
    return hyb_room_find(t->model, s, &t->desc, &t->shape, &t->plan, error);
}

/* The same, on the device where it is trained. A model that runs on a GPU may leave no room there for what an adapter
 * over it needs: that is trained on the host then, if the model's weights are not trained on the GPU themselves. */
static hybrid_result hyb_trainer_tables(hybrid_trainer *t, hybrid_error *error)
{
    hyb_device *device = t->desc.own ? &t->host : hyb_transformer_device(t->model, t->desc.adapter);
    const bool may_leave = !device->ops->is_host && t->desc.adapter && !t->model->place.trained;
    const bool too_many = (int64_t)t->desc.n_seq * t->desc.n_ctx > HYB_TRAIN_ROWS_GPU;
    hybrid_error why;
    hybrid_result r;
    if (!may_leave) return hyb_trainer_tables_on(t, device, error);
    r = too_many ? hyb_fail(&why, HYBRID_ERROR_LIMIT, "it has room for batches of %d tokens", (int)HYB_TRAIN_ROWS_GPU)
                 : hyb_trainer_tables_on(t, device, &why);
    if (!r && !device->ops->fits(device, hyb_room_counted(&t->store, &t->plan)))
        r = hyb_fail(&why, HYBRID_ERROR_MEMORY, "%llu bytes of its memory are not free",
                     (unsigned long long)hyb_room_counted(&t->store, &t->plan));
    if (!r) return HYBRID_OK;
    hyb_log(t->rt, HYBRID_LOG_INFO, "the adapter is trained on the host, not on the GPU: %s", why.message);
    hyb_store_free(&t->store);
    memset(&t->plan, 0, sizeof t->plan);
    return hyb_trainer_tables_on(t, &t->host, error);
}

/* Its gradients and states, and the objective over it. */
static hybrid_result hyb_trainer_build(hybrid_trainer *t, hybrid_error *error)
{
    hybrid_result r = hyb_store_allocate(&t->store, error);
    if (!r && t->desc.own)
        r = hyb_own_create(t->rt, &t->host, t->desc.own, &t->store, &t->objective, error);
    else if (!r)
        r = hyb_transformer_create(t->rt, t->model, &t->desc, &t->shape, &t->store, &t->objective, error);
    t->desc.own = NULL; /* it was copied */
    if (r) return r;
    if ((r = hyb_store_clear_all(&t->store, t->objective->cut.real, error)) != HYBRID_OK) return r;
    r = hyb_ema_begin(&t->store, t->objective->cut.real, error);
    return r || !t->desc.adapter ? r : hyb_adapter_keep(t->desc.adapter, error);
}

static void hyb_trainer_free(hybrid_trainer *t)
{
    hybrid_runtime *rt = t->rt;
    if (t->rider) t->rider->ops->left(t->rider);
    if (t->objective) t->objective->ops->destroy(t->objective);
    hyb_store_free(&t->store);
    hyb_free(rt, t->user);
    hyb_free(rt, t);
    hyb_runtime_release(rt);
}

HYB_BORDER_VOID(hybrid_trainer_destroy, (hybrid_trainer *trainer), (trainer))
{
    if (!trainer) return;
    if (hyb_busy(trainer->in_use)) {
        hyb_log(trainer->rt, HYBRID_LOG_ERROR,
                "hybrid_trainer_destroy: the trainer is in use: one of its callbacks called it again; it was not "
                "destroyed");
        return;
    }
    trainer->in_use = hyb_process();
    hyb_trainer_free(trainer);
}

/* A trainer with its tables and its plan, and without memory of any size. */
static hybrid_result hyb_trainer_begin(const hybrid_trainer_desc *desc, const char *function, hybrid_trainer **trainer,
                                       hybrid_error *error)
{
    hybrid_trainer *t;
    hybrid_runtime *rt;
    hybrid_trainer_desc d;
    hybrid_model *model;
    hybrid_result r;
    if (!desc) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: desc is NULL", function);
    if (desc->own && (desc->model || desc->adapter))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: give one of desc->model, adapter and own", function);
    model = desc->adapter && !desc->model ? desc->adapter->model : desc->model;
    r = desc->own ? hyb_own_check(desc->own, error) : hyb_transformer_check(model, desc->adapter, error);
    if (r || (r = hyb_trainer_defaults(desc, &d, error)) != HYBRID_OK) return r;
    r = hyb_runtime_retain(desc->own ? desc->own->runtime : model->rt, &rt, error);
    if (r) return r;
    if (!(t = (hybrid_trainer *)hyb_calloc(rt, 1, sizeof *t))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *t);
    }
    t->rt = rt;
    t->rate_factor = 1;
    t->model = model;
    t->desc = d;
    hyb_format_take(&t->format, d.format);
    hyb_host_device(&t->host, rt);
    if ((r = hyb_trainer_tables(t, error)) != HYBRID_OK) {
        hyb_trainer_free(t);
        return r;
    }
    *trainer = t;
    return HYBRID_OK;
}

/* Where a format saves nothing. */
static void hyb_trainer_say_format(const hybrid_trainer *t)
{
    hyb_device *device = t->store.device;
    if (t->format.type == HYBRID_TYPE_F32 || device->ops->gains(device, t->format.type)) return;
    hyb_log(t->rt, HYBRID_LOG_WARN,
            "the format of products is %s, and nothing is won by it on this machine, which has no units for it: what "
            "they read is rounded to %s and multiplied in fp32",
            hyb_format_name(t->format.type), hyb_format_name(t->format.type));
}

HYB_BORDER(hybrid_result, hybrid_trainer_create,
           (const hybrid_trainer_desc *desc, hybrid_trainer **trainer, hybrid_error *error), (desc, trainer, error))
{
    hybrid_trainer *t = NULL;
    hybrid_result r;
    if (!trainer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: trainer is NULL");
    *trainer = NULL;
    if ((r = hyb_trainer_begin(desc, "hybrid_trainer_create", &t, error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_build(t, error)) != HYBRID_OK) {
        hyb_trainer_free(t);
        return r;
    }
    hyb_room_say(t->rt, &t->desc, &t->plan);
    hyb_trainer_say_format(t);
    *trainer = t;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_trainer_plan,
           (const hybrid_trainer_desc *desc, hybrid_train_plan *plan, hybrid_error *error), (desc, plan, error))
{
    hybrid_trainer *t = NULL;
    hybrid_result r;
    if (!plan) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_plan: plan is NULL");
    memset(plan, 0, sizeof *plan);
    if ((r = hyb_trainer_begin(desc, "hybrid_trainer_plan", &t, error)) != HYBRID_OK) return r;
    *plan = t->plan;
    hyb_trainer_free(t);
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

enum {
    HYB_STEP_KIND = HYB_SLICER_KINDS - 1,
    HYB_STEP_CLEARS = 1 << 14 /* gradients that are cleared at a time */
};

/* Refuses a call from within a callback of another. */
static hybrid_result hyb_trainer_unused(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    if (!hyb_busy(t->in_use)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the trainer is in use: one of its callbacks called it again",
                    function);
}

/* Refuses in the middle of a step, too. */
static hybrid_result hyb_trainer_between(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    const hybrid_result r = hyb_trainer_unused(t, function, error);
    if (r || t->now.stage == HYB_STEP_NONE) return r;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s: the trainer is in use: hybrid_trainer_work is in the middle of a step; call it until that is "
                    "done, or hybrid_trainer_cancel",
                    function);
}

/* Refuses a trainer whose weights are a mixture. */
static hybrid_result hyb_trainer_ready(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    const hybrid_result r = hyb_trainer_unused(t, function, error);
    if (r || !t->torn) return r;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s: loading a checkpoint, or a step, failed halfway, so the weights are a mixture: load one again",
                    function);
}

/* Refuses what would mistake the average for the weights. */
static hybrid_result hyb_trainer_has_weights(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    if (!t->swapped) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s: the average stands where the weights belong: hybrid_trainer_swap_ema puts them back",
                    function);
}

static hybrid_result hyb_trainer_idle(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    const hybrid_result r = hyb_trainer_between(t, function, error);
    return r ? r : hyb_trainer_ready(t, function, error);
}

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

/* ---- the number format ------------------------------------------------------------------------------------------- */

/* Another format, and the plan of it. */
static hybrid_result hyb_trainer_exchange_format(hybrid_trainer *t, hybrid_type type, uint64_t *bytes,
                                                 const char *function, hybrid_error *error)
{
    hybrid_train_plan plan = t->plan;
    hyb_train_shape shape = t->shape;
    uint64_t counted;
    hybrid_result r;
    shape.operands = type;
    plan.rounded = hyb_trainer_rounded(t, type);
    if ((r = hyb_room_of_pass(t->model, t->store.device, &shape, &plan, error)) != HYBRID_OK) return r;
    counted = hyb_room_counted(&t->store, &plan);
    if (t->desc.max_bytes && counted > t->desc.max_bytes && counted > hyb_room_counted(&t->store, &t->plan))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "%s: max_bytes is %llu, and training in %s takes %llu", function,
                        (unsigned long long)t->desc.max_bytes, hyb_format_name(type), (unsigned long long)counted);
    if ((r = t->objective->ops->set_format(t->objective, type, bytes, error)) != HYBRID_OK) return r;
    t->plan = plan;
    t->shape = shape;
    t->desc.format = type;
    return HYBRID_OK;
}

static hybrid_result hyb_trainer_set_format(hybrid_trainer *t, hybrid_type format, const char *function,
                                            hybrid_error *error)
{
    uint64_t bytes = 0;
    hybrid_result r = hyb_format_check(format, !t->model, function, error);
    if (r || format == t->format.type) return r;
    if ((r = hyb_trainer_exchange_format(t, format, &bytes, function, error)) != HYBRID_OK) return r;
    hyb_format_take(&t->format, format);
    t->format.n_changes++;
    t->format.bytes += bytes;
    hyb_trainer_say_format(t);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_trainer_set_format,
           (hybrid_trainer *trainer, hybrid_type format, hybrid_error *error), (trainer, format, error))
{
    static const char function[] = "hybrid_trainer_set_format";
    hybrid_result r;
    if (!trainer) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: trainer is NULL", function);
    if ((r = hyb_trainer_idle(trainer, function, error)) != HYBRID_OK) return r;
    trainer->in_use = hyb_process();
    r = hyb_trainer_set_format(trainer, format, function, error);
    trainer->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_set_batches,
           (hybrid_trainer *trainer, int32_t n_batches, hybrid_error *error), (trainer, n_batches, error))
{
    static const char function[] = "hybrid_trainer_set_batches";
    hybrid_result r;
    if (!trainer) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: trainer is NULL", function);
    if ((r = hyb_trainer_idle(trainer, function, error)) != HYBRID_OK) return r;
    if (n_batches < 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: n_batches is %d, and must be at least 1", function,
                        n_batches);
    trainer->desc.n_batches = n_batches;
    return HYBRID_OK;
}
#endif
