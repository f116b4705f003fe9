/* model/adapter_make: adapters from nothing, and what they are. */
#ifndef HYB_MODEL_ADAPTER_MAKE_C
#define HYB_MODEL_ADAPTER_MAKE_C
#include "../core/random.c"
#include "model.c"

/* ---- the empty adapter: pairs, then values ---- */

/* An adapter with room for n pairs and no values. */
static hybrid_result hyb_adapter_new(hybrid_model *m, int32_t n_pairs, float alpha, hybrid_adapter **out,
                                     hybrid_error *error)
{
    hybrid_adapter *a = (hybrid_adapter *)hyb_calloc(m->rt, 1, sizeof *a);
    *out = NULL;
    if (!a) return hyb_fail_memory(error, sizeof *a);
    hyb_atomic_add(&m->rt->references, 1);
    a->rt = m->rt;
    a->model = m;
    a->references = 1;
    a->alpha = alpha;
    a->changes = 1;
    a->n_weights = m->weights.n_tensors;
    a->pairs = (hyb_adapter_pair *)hyb_calloc(m->rt, (size_t)n_pairs, sizeof *a->pairs);
    a->pair_of = (int32_t *)hyb_calloc(m->rt, (size_t)a->n_weights, sizeof *a->pair_of);
    if (a->pairs && a->pair_of) {
        *out = a;
        return HYBRID_OK;
    }
    hyb_adapter_free(a);
    return hyb_fail_memory(error, (size_t)n_pairs * sizeof *a->pairs + (size_t)m->weights.n_tensors * sizeof(int32_t));
}

/* Pairs are complete: zeroed memory for their values. */
static hybrid_result hyb_adapter_room(hybrid_adapter *a, hybrid_error *error)
{
    const hyb_weights *w = &a->model->weights;
    int32_t i;
    a->n_values = hyb_adapter_layout(a, w->tensors);
    if (!a->n_values || a->n_values > SIZE_MAX / sizeof(float))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "the adapter is beyond the address space");
    if (!(a->values = (float *)hyb_alloc_aligned(a->rt, a->n_values * sizeof(float))))
        return hyb_fail_memory(error, a->n_values * sizeof(float));
    memset(a->values, 0, a->n_values * sizeof(float));
    for (i = 0; i < a->n_pairs; i++) {
        a->pairs[i].a.data = a->values + a->pairs[i].a_at;
        a->pairs[i].b.data = a->values + a->pairs[i].b_at;
    }
    return hyb_adapter_worn_room(a, error);
}

/* Values are complete: a copy for the GPU, where layers of the model are on one. */
static hybrid_result hyb_adapter_upload(hybrid_adapter *a, hybrid_error *error)
{
    hyb_device *gpu = a->model->place.gpu;
    hybrid_result r;
    if (!gpu) return HYBRID_OK;
    a->gpu = gpu;
    if ((r = gpu->ops->alloc(gpu, a->n_values * sizeof(float), &a->gpu_values, error)) != HYBRID_OK) return r;
    return hyb_adapter_changed(a, error);
}

/* ---- create ---- */

/* A name of the model's file as text: "" when it is too long for one that hybrid looks up. */
static const char *hyb_adapter_tensor_name(const hybrid_model *m, hyb_weight w, char text[HYB_NAME_ROOM])
{
    const hybrid_string name = hyb_weights_source(m->gguf, &m->weights.tensors[w])->name;
    text[0] = 0;
    if (name.size < HYB_NAME_ROOM) {
        memcpy(text, name.data, name.size);
        text[name.size] = 0;
    }
    return text;
}

static const char *const hyb_adapter_defaults[] = { "attn_q", "attn_v", "attn_qkv", "time_mix_receptance",
                                                    "time_mix_value" };

/* Whether the descriptor asks for a tensor of this model; *found[i] counts those of name i. */
static bool hyb_adapter_wants(const hybrid_adapter_desc *d, hybrid_string target)
{
    size_t i;
    for (i = 0; i < d->n_targets; i++) {
        if (hyb_string_is(target, d->targets[i])) return true;
        if (!strcmp(d->targets[i], "all") && !hyb_adapter_is_router(target)) return true;
    }
    return false;
}

/* Every name must stand for a matrix that can be changed. */
static hybrid_result hyb_adapter_check_name(const hybrid_model *m, const char *name, hybrid_error *error)
{
    char text[HYB_NAME_ROOM];
    const char *why = NULL;
    hyb_weight w;
    if (!strcmp(name, "all")) return HYBRID_OK;
    for (w = 1; w < m->weights.n_tensors; w++) {
        const hyb_tensor *t = &m->weights.tensors[w];
        const char *of = hyb_adapter_tensor_name(m, w, text);
        const size_t n = strlen(name);
        const bool is_whole = !strncmp(of, name, n) && (!of[n] || !strcmp(of + n, ".weight"));
        if (!hyb_string_is(hyb_adapter_target(of), name) && !is_whole) continue;
        if (!(why = hyb_adapter_cannot(t, of))) {
            if (!is_whole) return HYBRID_OK;
            why = "give the name that its kind has in all layers, like \"attn_q\"";
        }
    }
    if (why) return hyb_fail(error, HYBRID_ERROR_INVALID, "an adapter cannot change '%.64s': %s", name, why);
    return hyb_fail(
        error, HYBRID_ERROR_NOT_FOUND,
        "the model has no matrix '%.64s' in any layer; names are like \"attn_q\" or \"ffn_down\", or \"all\"", name);
}

/* The descriptor with every zero replaced by what is used. */
static hybrid_result hyb_adapter_desc_of(const hybrid_model *m, const hybrid_adapter_desc *given,
                                         hybrid_adapter_desc *d, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    memset(d, 0, sizeof *d);
    if (given) *d = *given;
    if (d->rank < 0 || d->rank > HYBRID_ADAPTER_MAX_RANK)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_create: rank is %d, must be 0..%d", d->rank,
                        HYBRID_ADAPTER_MAX_RANK);
    if (!(d->alpha >= 0) || d->alpha > 3e38f)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_create: alpha is %g, must be 0 or a finite factor",
                        (double)d->alpha);
    if (!d->targets != !d->n_targets)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_create: give targets and n_targets, or neither");
    if (!d->rank) d->rank = 8;
    if (d->alpha == 0) d->alpha = (float)d->rank;
    for (i = 0; i < d->n_targets && !r; i++)
        r = d->targets[i] ? hyb_adapter_check_name(m, d->targets[i], error)
                          : hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_create: target %llu is NULL",
                                     (unsigned long long)i);
    if (d->n_targets) return r;
    d->targets = hyb_adapter_defaults;
    d->n_targets = HYB_COUNT(hyb_adapter_defaults);
    return r;
}

/* A of every pair: uniform between -1 / sqrt(k) and 1 / sqrt(k), which is PyTorch's kaiming_uniform_ with a = sqrt(5).
 * Stream: the matrix; counter: the value. */
static void hyb_adapter_seed(hybrid_adapter *a, uint64_t seed)
{
    int32_t i;
    for (i = 0; i < a->n_pairs; i++) {
        const hyb_adapter_pair *p = &a->pairs[i];
        const double bound = 1 / sqrt((double)p->a.ne[0]);
        const size_t n = hyb_adapter_count(&p->a);
        float *values = a->values + p->a_at;
        size_t k;
        for (k = 0; k < n; k++) values[k] = (float)((2 * hyb_random_uniform(seed, (uint64_t)p->w, k) - 1) * bound);
    }
}

/* Pairs for all that the descriptor asks for; with none, only counts. */
static int32_t hyb_adapter_choose(const hybrid_model *m, const hybrid_adapter_desc *d, hyb_adapter_pair *pairs)
{
    char text[HYB_NAME_ROOM];
    int32_t n = 0;
    hyb_weight w;
    for (w = 1; w < m->weights.n_tensors; w++) {
        const char *name = hyb_adapter_tensor_name(m, w, text);
        if (hyb_adapter_cannot(&m->weights.tensors[w], name) || !hyb_adapter_wants(d, hyb_adapter_target(name)))
            continue;
        if (pairs) pairs[n].w = w;
        if (pairs) pairs[n].rank = d->rank;
        n++;
    }
    return n;
}

HYB_BORDER(hybrid_result, hybrid_adapter_create,
           (hybrid_model *model, const hybrid_adapter_desc *desc, hybrid_adapter **adapter, hybrid_error *error),
           (model, desc, adapter, error))
{
    hybrid_adapter_desc d;
    hybrid_adapter *a;
    hybrid_result r;
    int32_t n;
    if (adapter) *adapter = NULL;
    if (!model || !adapter)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_create: %s is NULL", model ? "adapter" : "model");
    if ((r = hyb_adapter_desc_of(model, desc, &d, error)) != HYBRID_OK) return r;
    if (!(n = hyb_adapter_choose(model, &d, NULL)))
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "hybrid_adapter_create: the model has none of the matrices that adapters change if targets is "
                        "NULL: name others");
    if ((r = hyb_adapter_new(model, n, d.alpha, &a, error)) != HYBRID_OK) return r;
    a->n_pairs = hyb_adapter_choose(model, &d, a->pairs);
    if ((r = hyb_adapter_room(a, error)) == HYBRID_OK) {
        hyb_adapter_seed(a, d.seed);
        r = hyb_adapter_upload(a, error);
    }
    if (r)
        hyb_adapter_free(a);
    else
        *adapter = a;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_adapter_set_type, (hybrid_adapter *adapter, hybrid_type type, hybrid_error *error),
           (adapter, type, error))
{
    hybrid_adapter was;
    hybrid_result r;
    if (!adapter) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_set_type: adapter is NULL");
    if (type != HYBRID_TYPE_F32 && type != HYBRID_TYPE_F16 && type != HYBRID_TYPE_Q8_0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_set_type: an adapter is read as F32, F16 or Q8_0");
    if (hyb_busy(adapter->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_adapter_set_type: the adapter is in use: a callback of hybrid_adapter_learn called it");
    was = *adapter;
    adapter->typed = true;
    adapter->type = type;
    if ((r = hyb_adapter_worn_room(adapter, error)) == HYBRID_OK) return HYBRID_OK;
    adapter->typed = was.typed;
    adapter->type = was.type;
    return r;
}

HYB_BORDER_VOID(hybrid_adapter_destroy, (hybrid_adapter *adapter), (adapter))
{
    if (adapter && hyb_busy(adapter->in_use))
        hyb_log(adapter->rt, HYBRID_LOG_ERROR,
                "hybrid_adapter_destroy: the adapter is in use: a callback of hybrid_adapter_learn called it; it was "
                "not destroyed");
    else
        hyb_adapter_release(adapter);
}

HYB_BORDER_VOID(hybrid_adapter_describe, (const hybrid_adapter *adapter, hybrid_adapter_info *info), (adapter, info))
{
    int32_t i;
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (!adapter) return;
    info->rank = adapter->max_rank;
    info->alpha = adapter->alpha;
    info->n_matrices = (size_t)adapter->n_pairs;
    for (i = 0; i < adapter->n_pairs; i++) {
        const hyb_adapter_pair *p = &adapter->pairs[i];
        info->n_params += hyb_adapter_count(&p->a) + hyb_adapter_count(&p->b);
    }
    info->bytes = sizeof *adapter + (uint64_t)adapter->n_pairs * sizeof *adapter->pairs +
                  (uint64_t)adapter->n_weights * sizeof *adapter->pair_of + 2 * HYB_ALIGNED_EXTRA +
                  (uint64_t)adapter->n_values * sizeof(float) + adapter->worn_bytes;
    if (adapter->kept) info->bytes += HYB_ALIGNED_EXTRA + (uint64_t)adapter->n_values * sizeof(float);
    if (adapter->gpu) info->device_bytes = adapter->gpu->ops->cost(adapter->gpu, adapter->n_values * sizeof(float));
}
#endif
