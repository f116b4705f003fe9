/* train/room: the bytes of a trainer before anything of size is allocated, and what it does without when they are too
 * many: first what the forward pass keeps, then sequences that are worked on at a time. */
#ifndef HYB_TRAIN_ROOM_C
#define HYB_TRAIN_ROOM_C
#include "transformer.c"

/* What a pass over a shape takes, the back end included. */
static hybrid_result hyb_room_of_pass(const hybrid_model *m, hyb_device *device, const hyb_train_shape *shape,
                                      hybrid_train_plan *plan, hybrid_error *error)
{
    hyb_train_memory memory;
    hyb_limits limits;
    uint64_t bytes;
    size_t host;
    hybrid_result r;
    if (!hyb_transformer_countable(&m->hp, shape)) return hyb_fail_memory(error, SIZE_MAX);
    if ((r = hyb_transformer_limits(m, device, shape, &limits, error)) != HYBRID_OK) return r;
    bytes = hyb_train_layout(&memory, &m->hp, shape, NULL, NULL);
    host = device->ops->is_host ? 0 : memory.host_bytes;
    bytes = host + device->ops->cost(device, (size_t)bytes - host);
    plan->kept = memory.kept_bytes;
    plan->logits = memory.logits_bytes;
    plan->scratch = bytes - plan->kept - plan->logits + device->ops->backend_cost(device, &limits);
    plan->n_seq = shape->n_seq;
    plan->recompute_every = shape->every;
    plan->total =
        plan->gradients + plan->states + plan->kept + plan->logits + plan->scratch + plan->rounded + plan->other;
    return HYBRID_OK;
}

/* Looks for the first shape that fits, in the order of api/trainer.h. plan: with gradients, states and other; filled
 * with the shape's, or with those of the smallest. False: none fits. */
static bool hyb_room_search(const hybrid_model *m, hyb_device *device, const hybrid_trainer_desc *d,
                            hyb_train_shape *shape, hybrid_train_plan *plan)
{
    hybrid_train_plan least = *plan;
    const int32_t asked = d->recompute_every ? d->recompute_every : m->hp.n_layer;
    least.total = UINT64_MAX;
    shape->operands = d->format;
    shape->n_ctx = d->n_ctx;
    shape->rank = d->adapter ? d->adapter->max_rank : 0;
    for (shape->n_seq = d->n_seq; shape->n_seq > 0; shape->n_seq--) {
        if (d->n_seq % shape->n_seq) continue;
        shape->every = d->recompute_every;
        do {
            if (hyb_room_of_pass(m, device, shape, plan, NULL)) continue;
            if (plan->total <= d->max_bytes) return true;
            if (plan->total < least.total) least = *plan;
        } while ((shape->every = (shape->every ? HYB_MIN(shape->every, asked) : asked) - 1) > 0);
    }
    *plan = least;
    return false;
}

/* The shape of the parts of a batch, and the plan of it all. HYBRID_ERROR_LIMIT: max_bytes is not enough for any. */
static hybrid_result hyb_room_find(const hybrid_model *m, hyb_device *device, const hybrid_trainer_desc *d,
                                   hyb_train_shape *shape, hybrid_train_plan *plan, hybrid_error *error)
{
    shape->operands = d->format;
    shape->n_seq = d->n_seq;
    shape->n_ctx = d->n_ctx;
    shape->every = d->recompute_every;
    shape->rank = d->adapter ? d->adapter->max_rank : 0;
    if (!d->max_bytes) return hyb_room_of_pass(m, device, shape, plan, error);
    if (hyb_room_search(m, device, d, shape, plan)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_LIMIT,
                    "max_bytes is %llu, and training takes at least %llu: %llu for gradients, %llu for states of the "
                    "optimizer, the rest for a pass over one sequence of %d tokens; fewer tokens take less",
                    (unsigned long long)d->max_bytes, (unsigned long long)plan->total,
                    (unsigned long long)plan->gradients, (unsigned long long)plan->states, d->n_ctx);
}

/* Says what is done without. */
static void hyb_room_say(hybrid_runtime *rt, const hybrid_trainer_desc *d, const hybrid_train_plan *plan)
{
    if (plan->n_seq == d->n_seq && plan->recompute_every == d->recompute_every) return;
    hyb_log(rt, HYBRID_LOG_WARN,
            "max_bytes %llu: the trainer takes %llu, with layers that run forward again on the way back, %d at a time "
            "(recompute_every; 0: none), and %d of the %d sequences of a batch at a time",
            (unsigned long long)d->max_bytes, (unsigned long long)plan->total, plan->recompute_every, plan->n_seq,
            d->n_seq);
}
#endif
