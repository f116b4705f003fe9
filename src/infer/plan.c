/* infer/plan: the bytes of a model and a context before they are loaded. It opens the file as loading does, with an
 * allocator that counts, and lays the context out with the functions that create it. */
#ifndef HYB_INFER_PLAN_C
#define HYB_INFER_PLAN_C
#include "context.c"

typedef struct hyb_counter {
    hybrid_allocator base;
    uint64_t live;
} hyb_counter;

static void *hyb_counter_alloc(void *user, size_t size)
{
    hyb_counter *c = (hyb_counter *)user;
    size_t total;
    unsigned char *p;
    if (!hyb_add_size(size, 16, &total) || !(p = (unsigned char *)c->base.alloc(c->base.user, total))) return NULL;
    memcpy(p, &size, sizeof size);
    c->live += size;
    return p + 16;
}
static void hyb_counter_free(void *user, void *block)
{
    hyb_counter *c = (hyb_counter *)user;
    size_t size;
    unsigned char *p = (unsigned char *)block - 16;
    memcpy(&size, p, sizeof size);
    c->live -= size;
    c->base.free(c->base.user, p);
}

static hybrid_result hyb_plan_context(hybrid_model *m, const hybrid_context_desc *desc, hybrid_memory_plan *plan,
                                      hybrid_error *error)
{
    hybrid_context_desc d;
    hyb_state state;
    hyb_context_layout l;
    hyb_stage stages[HYB_STAGES];
    hybrid_result r;
    int i, n;
    if ((r = hyb_context_defaults(&m->hp, desc, &d, error)) != HYBRID_OK) return r;
    if ((r = hyb_state_plan(&state, &m->hp, &d, error)) != HYBRID_OK) return r;
    if ((r = hyb_context_layout_make(&m->hp, &state, &d, m->place.gpu != NULL, &l, error)) != HYBRID_OK) return r;
    plan->compute = sizeof(hybrid_context) + m->host.ops->cost(&m->host, l.bytes);
    n = hyb_stages_plan(m, false, stages);
    for (i = 0; i < n; i++) {
        hyb_device *device = stages[i].device;
        const size_t bytes = hyb_state_bytes(&state, i ? stages[i - 1].layer_end : 0, stages[i].layer_end);
        uint64_t *to_kv = device->ops->is_host ? &plan->kv : &plan->device_kv,
                 *to = device->ops->is_host ? &plan->compute : &plan->device_compute;
        hyb_limits limits;
        if ((r = hyb_limits_of(device, &m->net, &m->weights, &m->hp, &d, &limits, error)) != HYBRID_OK) return r;
        hyb_activations_layout(&stages[i].a, &m->hp, d.n_batch, hyb_stage_n_out(&stages[i], &d), d.n_candidates, NULL);
        if (d.adapter_rank) *to += device->ops->cost(device, hyb_narrow_bytes(&m->hp, &d));
        if (bytes) *to_kv += device->ops->cost(device, bytes);
        *to += device->ops->cost(device, stages[i].a.bytes) + device->ops->backend_cost(device, &limits);
    }
    return HYBRID_OK;
}

/* The plan itself, made with a runtime that counts. gpu: that of the runtime in use, or NULL. */
static hybrid_result hyb_plan_model(hybrid_runtime *rt, const hyb_counter *counter, hyb_device *gpu,
                                    const hybrid_model_desc *model, const hybrid_context_desc *context,
                                    hybrid_memory_plan *plan, hybrid_error *error)
{
    const uint64_t before = counter->live;
    hybrid_model *m = NULL;
    hybrid_result r;
    if ((r = hyb_model_create(rt, model, true, &m, error)) == HYBRID_OK) { /* the readers are used again for loading */
        size_t bytes = hyb_weights_bytes(&m->weights);
        plan->weights = bytes ? m->host.ops->cost(&m->host, bytes) : 0;
        plan->model = counter->live - before;
        plan->mapped = hyb_weights_in_place(&m->weights);
        r = hyb_model_place(m, gpu, model, error);
        if (m->place.gpu) {
            plan->model += (uint64_t)m->weights.n_tensors * sizeof(hyb_tensor);
            plan->device_weights = gpu->ops->cost(gpu, m->place.bytes);
            plan->n_layer_device = m->hp.n_layer - m->place.first;
        }
        bytes = model->repack && !r ? hyb_repacked_bytes(rt, &m->place, &m->net, &m->weights) : 0;
        if (bytes) plan->weights += m->host.ops->cost(&m->host, bytes);
        if (!r) r = hyb_plan_context(m, context, plan, error);
        plan->total = plan->model + plan->weights + plan->kv + plan->compute;
        plan->device = plan->device_weights + plan->device_kv + plan->device_compute;
    }
    hybrid_model_destroy(m);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_plan,
           (hybrid_runtime *runtime, const hybrid_model_desc *model, const hybrid_context_desc *context,
            hybrid_memory_plan *plan, hybrid_error *error),
           (runtime, model, context, plan, error))
{
    hybrid_runtime *rt = NULL;
    hyb_counter counter;
    hybrid_allocator allocator;
    hybrid_memory_plan made;
    hyb_device *gpu = NULL;
    hybrid_result r;
    if (plan) memset(plan, 0, sizeof *plan);
    if (!model || !plan)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_plan: %s is NULL", model ? "plan" : "model");
    memset(&made, 0, sizeof made);
    memset(&counter, 0, sizeof counter);
    counter.base.alloc = runtime ? runtime->allocator.alloc : hyb_default_alloc;
    counter.base.free = runtime ? runtime->allocator.free : hyb_default_free;
    counter.base.user = runtime ? runtime->allocator.user : NULL;
    allocator.alloc = hyb_counter_alloc;
    allocator.free = hyb_counter_free;
    allocator.user = &counter;
    /* the runtime's own GPU is used, not a second one */
    if (runtime && (r = hyb_runtime_gpu(runtime, &gpu, error)) != HYBRID_OK) return r;
    if ((r = hyb_runtime_like(runtime, &allocator, &rt, error)) != HYBRID_OK) return r;
    if (!runtime) r = hyb_runtime_gpu(rt, &gpu, error);
    if (!r) r = hyb_plan_model(rt, &counter, gpu, model, context, &made, error);
    if (!r) *plan = made;
    hybrid_runtime_destroy(rt);
    return r;
}
#endif
