/* train/room: the bytes of a trainer before anything of size is allocated, and what it does without when they are too
 * many, in the order of api/trainer.h. */
#ifndef HYB_TRAIN_ROOM_C
#define HYB_TRAIN_ROOM_C
#include "transformer.c"

/* What the arenas take, with states that are offloaded or not. UINT64_MAX: they cannot be counted. */
static uint64_t hyb_room_states(hyb_store *s, bool offload, hybrid_train_plan *plan)
{
    uint64_t device, host;
    hyb_store_offload(s, offload);
    device = hyb_store_cost(s, &host);
    if (device == UINT64_MAX) return device;
    plan->offloaded = s->offload;
    plan->gradients = (uint64_t)s->n_values * sizeof(float);
    plan->states = device + host - plan->gradients;
    plan->host_states = host;
    return device + host;
}

/* What a pass over a shape takes, the back end included, and all of it together. */
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
    plan->host_bytes = device->ops->is_host ? plan->total : host + plan->host_states + plan->other;
    return HYBRID_OK;
}

/* A search for what there is room for. */
typedef struct hyb_room {
    const hybrid_model *model;
    hyb_store *store;
    const hybrid_trainer_desc *desc;
    hyb_train_shape shape;   /* of the try, */
    hybrid_train_plan plan;  /* and what it takes */
    hyb_train_shape smaller; /* of the try that takes the least, */
    hybrid_train_plan least;
    bool tried; /* there is one */
} hyb_room;

/* What max_bytes is about: the memory of the device that trains. */
static uint64_t hyb_room_counted(const hyb_store *s, const hybrid_train_plan *plan)
{
    return s->device->ops->is_host ? plan->total : plan->total - plan->host_bytes;
}

/* Does the shape fit? */
static bool hyb_room_try(hyb_room *o)
{
    hyb_device *device = o->store->device;
    uint64_t counted;
    if (hyb_room_of_pass(o->model, device, &o->shape, &o->plan, NULL)) return false;
    counted = hyb_room_counted(o->store, &o->plan);
    if (!o->tried || counted < hyb_room_counted(o->store, &o->least)) {
        o->least = o->plan;
        o->smaller = o->shape;
        o->tried = true;
    }
    return (!o->desc->max_bytes || counted <= o->desc->max_bytes) && device->ops->fits(device, counted);
}

/* Looks for the first shape that fits: layers run forward again, then fewer sequences at a time, each as before, then
 * all of this with states on the host. */
static bool hyb_room_search(hyb_room *o)
{
    const hybrid_trainer_desc *d = o->desc;
    const int32_t asked = d->recompute_every ? d->recompute_every : o->model->hp.n_layer;
    int offload;
    for (offload = d->offload_optimizer; offload < 2; offload++) {
        if (hyb_room_states(o->store, offload != 0, &o->plan) == UINT64_MAX) continue;
        if (offload > d->offload_optimizer && !o->store->offload) break; /* there is no elsewhere */
        for (o->shape.n_seq = d->n_seq; o->shape.n_seq > 0; o->shape.n_seq--) {
            if (d->n_seq % o->shape.n_seq) continue;
            o->shape.every = d->recompute_every;
            do {
                if (hyb_room_try(o)) return true;
            } while ((o->shape.every = (o->shape.every ? HYB_MIN(o->shape.every, asked) : asked) - 1) > 0);
        }
    }
    return false;
}

/* The most tokens of a sequence that fit where n_ctx do not; 0: not even one does. After a search, which found
 * nothing. */
static int32_t hyb_room_n_ctx(hyb_room *o)
{
    int32_t low = 0, high = o->desc->n_ctx;
    hyb_room_states(o->store, true, &o->plan);
    o->shape = o->smaller;
    while (high - low > 1) {
        o->shape.n_ctx = low + (high - low) / 2;
        if (hyb_room_try(o))
            low = o->shape.n_ctx;
        else
            high = o->shape.n_ctx;
    }
    return low;
}

static hybrid_result hyb_room_fail(hyb_room *o, hybrid_error *error)
{
    const hybrid_train_plan least = o->least;
    const int32_t n_ctx = hyb_room_n_ctx(o);
    char fewer[64];
    if (n_ctx)
        snprintf(fewer, sizeof fewer, "n_ctx %d would do", n_ctx);
    else
        snprintf(fewer, sizeof fewer, "no n_ctx is small enough");
    return hyb_fail(error, HYBRID_ERROR_LIMIT,
                    "max_bytes is %llu, and training takes at least %llu: %llu for gradients, %llu for states of the "
                    "optimizer%s, the rest for a pass over one sequence of %d tokens whose layers run forward again; "
                    "%s",
                    (unsigned long long)o->desc->max_bytes, (unsigned long long)hyb_room_counted(o->store, &least),
                    (unsigned long long)least.gradients, (unsigned long long)(least.states - least.host_states),
                    least.offloaded ? " on their way from the host and back" : "", o->desc->n_ctx, fewer);
}

/* The shape of the parts of a batch, and the plan of it all; the store offloads its states or does not.
 * HYBRID_ERROR_LIMIT: max_bytes is not enough for any. Where only the GPU's free memory is not, the least is tried. */
static hybrid_result hyb_room_find(const hybrid_model *m, hyb_store *s, const hybrid_trainer_desc *d,
                                   hyb_train_shape *shape, hybrid_train_plan *plan, hybrid_error *error)
{
    hyb_room o;
    hybrid_result r = HYBRID_OK;
    memset(&o, 0, sizeof o);
    o.model = m;
    o.store = s;
    o.desc = d;
    o.plan = *plan;
    o.shape.n_seq = d->n_seq;
    o.shape.n_ctx = d->n_ctx;
    o.shape.every = d->recompute_every;
    o.shape.operands = d->format;
    o.shape.rank = d->adapter ? d->adapter->max_rank : 0;
    if (!hyb_room_search(&o)) {
        o.shape.n_seq = d->n_seq;
        o.shape.every = d->recompute_every;
        if (!o.tried) r = hyb_room_of_pass(m, s->device, &o.shape, &o.plan, error);
        if (!r && o.tried && d->max_bytes && hyb_room_counted(s, &o.least) > d->max_bytes) r = hyb_room_fail(&o, error);
        if (r) return r;
        o.plan = o.least;
        o.shape = o.smaller;
        hyb_room_states(s, o.plan.offloaded, &o.plan);
    }
    *shape = o.shape;
    *plan = o.plan;
    return HYBRID_OK;
}

/* Says what is done without, in the order in which it was tried. */
static void hyb_room_say(hybrid_runtime *rt, const hybrid_trainer_desc *d, const hybrid_train_plan *plan)
{
    const bool offloaded = plan->offloaded && !d->offload_optimizer;
    char cap[48];
    if (d->offload_optimizer && !plan->offloaded)
        hyb_log(rt, HYBRID_LOG_INFO,
                "offload_optimizer: states of the optimizer stay where they are, in the host's memory (or there are "
                "none): no GPU trains");
    if (plan->n_seq == d->n_seq && plan->recompute_every == d->recompute_every && !offloaded) return;
    snprintf(cap, sizeof cap, "max_bytes %llu", (unsigned long long)d->max_bytes);
    hyb_log(rt, HYBRID_LOG_WARN,
            "%s: the trainer takes %llu bytes (%llu of them the host's), with (1) layers that run forward again on the "
            "way back, %d at a time (recompute_every; 0: none), (2) %d of the %d sequences of a batch at a time, (3) "
            "states of the optimizer %s",
            d->max_bytes ? cap : "the GPU is small", (unsigned long long)plan->total,
            (unsigned long long)plan->host_bytes, plan->recompute_every, plan->n_seq, d->n_seq,
            plan->offloaded ? "on the host" : "where it trains");
}
#endif
