/* train/trainer: what a trainer is: an objective, which makes losses and gradients of batches, and an optimizer, which
 * changes the weights; how it is planned and made, and who may call it. What it does is in step.c. */
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

/* ---- who may call, and when -------------------------------------------------------------------------------------- */

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
