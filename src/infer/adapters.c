/* infer/adapters: a sequence puts adapters on, and takes them off. */
#ifndef HYB_INFER_ADAPTERS_C
#define HYB_INFER_ADAPTERS_C
#include "context.c"

/* The adapters and factors of a call as a set. */
static hybrid_result hyb_adapters_check(const hybrid_model *model, hybrid_adapter *const *adapters, const float *scales,
                                        size_t n, hyb_adapter_set *set, hybrid_error *error)
{
    size_t i;
    memset(set, 0, sizeof *set);
    if (n > HYBRID_SEQ_MAX_ADAPTERS)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "a sequence can wear %d adapters at once, not %llu",
                        HYBRID_SEQ_MAX_ADAPTERS, (unsigned long long)n);
    for (i = 0; i < n; i++) {
        const float scale = scales ? scales[i] : 1;
        if (!adapters || !adapters[i])
            return hyb_fail(error, HYBRID_ERROR_INVALID, "adapter %llu is NULL", (unsigned long long)i);
        if (adapters[i]->model != model)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "adapter %llu belongs to another model: create or load it with this one",
                            (unsigned long long)i);
        if (!(scale >= -3.4e38f && scale <= 3.4e38f))
            return hyb_fail(error, HYBRID_ERROR_INVALID, "the factor of adapter %llu is not a finite number",
                            (unsigned long long)i);
        set->use[i].adapter = adapters[i];
        set->use[i].scale = scale;
    }
    set->n = (int32_t)n;
    return HYBRID_OK;
}

static int32_t hyb_adapters_rank(const hyb_adapter_set *set)
{
    int32_t i, rank = 0;
    for (i = 0; i < set->n; i++) rank = HYB_MAX(rank, set->use[i].adapter->max_rank);
    return rank;
}

/* What a stage needs for adapters up to a rank: rows; and another back end, where its own has too little scratch. */
static hybrid_result hyb_adapters_stage(const hybrid_context *c, const hybrid_context_desc *d, hyb_stage *made,
                                        hybrid_error *error)
{
    const hybrid_model *m = c->model;
    hyb_device *device = made->device;
    hyb_limits has, needs;
    hybrid_result r;
    if ((r = hyb_limits_of(device, &m->net, &m->weights, &m->hp, &c->desc, &has, error)) != HYBRID_OK ||
        (r = hyb_limits_of(device, &m->net, &m->weights, &m->hp, d, &needs, error)) != HYBRID_OK)
        return r;
    if (device->ops->backend_cost(device, &has) == device->ops->backend_cost(device, &needs))
        return hyb_context_narrow(m, d, made, error);
    return hyb_context_backend(m, d, made, error);
}

/* Room for adapters up to this rank in every stage, before what is there ends. */
static hybrid_result hyb_adapters_room(hybrid_context *c, int32_t rank, hybrid_error *error)
{
    hyb_stage made[HYB_STAGES];
    hybrid_context_desc d = c->desc;
    hybrid_error why;
    hybrid_result r = HYBRID_OK;
    int i;
    if (rank <= c->desc.adapter_rank) return HYBRID_OK;
    memset(made, 0, sizeof made);
    d.adapter_rank = rank;
    for (i = 0; i < c->forward.n_stages && !r; i++) {
        made[i].device = c->forward.stages[i].device;
        r = hyb_adapters_stage(c, &d, &made[i], &why);
    }
    for (i = 0; i < c->forward.n_stages; i++) {
        hyb_stage *stage = &c->forward.stages[i], old = *stage;
        if (!r) {
            stage->narrow = made[i].narrow;
            made[i].narrow = old.narrow;
            if (made[i].be) stage->be = made[i].be;
            made[i].be = stage->be == old.be ? NULL : old.be;
        }
        hyb_stage_free(&made[i]);
    }
    if (r)
        return hyb_fail(error, r, "no room for adapters of rank %d (give adapter_rank when the context is created): %s",
                        rank, why.message);
    c->desc.adapter_rank = rank;
    return HYBRID_OK;
}

static hybrid_result hyb_seq_set_adapters(hybrid_context *c, int32_t seq, const hyb_adapter_set *set,
                                          hybrid_error *error)
{
    const int32_t place = hyb_worn_place(&c->worn, c->rt, set, error);
    hybrid_result r;
    if (place < 0) return (hybrid_result)place;
    r = hyb_adapters_room(c, hyb_adapters_rank(set), error);
    if (!r) c->worn.seq[seq] = place;
    hyb_worn_sweep(&c->worn, &c->state);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_seq_set_adapters,
           (hybrid_context *context, int32_t seq, hybrid_adapter *const *adapters, const float *scales, size_t n,
            hybrid_error *error),
           (context, seq, adapters, scales, n, error))
{
    hyb_adapter_set set;
    hybrid_result r;
    if (!context) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_set_adapters: context is NULL");
    if ((r = hyb_check_free(context, error)) != HYBRID_OK || (r = hyb_check_seq(context, seq, error)) != HYBRID_OK ||
        (r = hyb_check_idle(context, error)) != HYBRID_OK)
        return r;
    if ((r = hyb_adapters_check(context->model, adapters, scales, n, &set, error)) != HYBRID_OK) return r;
    context->in_use = hyb_process();
    r = hyb_seq_set_adapters(context, seq, &set, error);
    context->in_use = 0;
    return r;
}
#endif
