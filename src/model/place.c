/* model/place: which layers run where. Layers go to the GPU as long as they fit, from the last one backwards, the head
 * first (it is the largest matrix); the others stay on the host, where weights are used from the file. */
#ifndef HYB_MODEL_PLACE_C
#define HYB_MODEL_PLACE_C
#include "forward.c"

typedef struct hyb_place {
    hyb_device *gpu; /* NULL: everything runs on the host */
    int32_t first;   /* layers first .. n_layer - 1, the last norm and the head are on the GPU */
    bool embd;       /* and the embedding: then nothing runs on the host */
    bool trained;    /* all of it, and as the host's copy is laid out: the same offset in both is the same value */
    size_t bytes;    /* of weights there, in one block */
    void *block;
    hyb_tensor *tensors; /* as ops see them: addresses on the GPU for what is there */
} hyb_place;

enum { HYB_PLACE_ALIGN = 256, HYB_PLACE_BUFFERS = 24 << 20 /* as train/store.c takes at most */ };

/* A descriptor with every zero replaced by what is used. */
static hybrid_result hyb_context_defaults(const hyb_hparams *hp, const hybrid_context_desc *given,
                                          hybrid_context_desc *d, hybrid_error *error)
{
    if (given)
        *d = *given;
    else
        memset(d, 0, sizeof *d);
    if (d->n_ctx < 0 || d->n_seq < 0 || d->n_batch < 0 || d->n_logits < 0 || d->n_candidates < 0 ||
        d->adapter_rank < 0 || d->adapter_rank > HYBRID_ADAPTER_MAX_RANK || (unsigned)d->kv > HYBRID_KV_F32)
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "a number of the context's descriptor is out of range (n_ctx %d, n_seq %d, n_batch %d, n_logits %d, kv %d, "
            "adapter_rank %d)",
            d->n_ctx, d->n_seq, d->n_batch, d->n_logits, (int)d->kv, d->adapter_rank);
    if (!d->n_ctx) d->n_ctx = HYB_MIN(hp->n_ctx_train, 4096);
    if (!d->n_seq) d->n_seq = 1;
    if (!d->n_batch) d->n_batch = 512;
    d->n_batch = HYB_MIN(d->n_batch, d->n_ctx);
    if (!d->n_logits) d->n_logits = d->n_seq;
    d->n_candidates = HYB_MIN(d->n_candidates, (int32_t)HYB_TOP_K_MAX);
    if (d->n_seq > 65535 || d->n_batch > 65535 || d->n_ctx > INT32_MAX - 65536 - HYB_PAGE)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "n_seq and n_batch may be 65535 at most, n_ctx %d",
                        INT32_MAX - 65536 - HYB_PAGE);
    if ((hp->arch->has & HYB_HAS_POS_EMBD) && d->n_ctx > hp->n_ctx_train && d->n_seq == 1)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx,
                        hp->n_ctx_train);
    return HYBRID_OK;
}

/* Bytes of what lies between the two matrices of adapters. */
static size_t hyb_narrow_bytes(const hyb_hparams *hp, const hybrid_context_desc *d)
{
    return sizeof(float) * hyb_narrow_floats(hp, (size_t)d->n_batch, (size_t)d->adapter_rank);
}

/* Shows a device the pairs that a matrix may have: up to the rank that there is room for. A B of rank 1 is the one
 * whose rows a product cuts into the largest pieces. */
static bool hyb_limits_adapter(hyb_device *device, hyb_limits *limits, const hyb_tensor *w, int32_t rank)
{
    hyb_tensor a, b, least, bytes;
    hyb_adapter_matrix(&a, w->ne[0], rank, w->ne[2]);
    hyb_adapter_matrix(&b, rank, w->ne[1], w->ne[2]);
    hyb_adapter_matrix(&least, 1, w->ne[1], w->ne[2]);
    bytes = a; /* as sequences read it */
    bytes.type = HYBRID_TYPE_Q8_0;
    bytes.nb[1] = hybrid_type_row_bytes(bytes.type, (size_t)a.ne[0]);
    return device->ops->show(device, limits, &a) && device->ops->show(device, limits, &b) &&
           device->ops->show(device, limits, &least) &&
           (!device->ops->is_host || a.ne[0] % 32 || a.ne[2] > 1 || device->ops->show(device, limits, &bytes));
}

/* What contexts of this size need of a back end. */
static hybrid_result hyb_limits_of(hyb_device *device, const hyb_net *net, const hyb_weights *w, const hyb_hparams *hp,
                                   const hybrid_context_desc *d, hyb_limits *limits, hybrid_error *error)
{
    int32_t i;
    memset(limits, 0, sizeof *limits);
    limits->n_rows = d->n_batch;
    limits->n_out = HYB_MIN(d->n_batch, d->n_logits);
    limits->n_vocab = hp->n_vocab;
    limits->n_top = d->n_candidates;
    limits->n_seq = d->n_seq;
    limits->pages_a_seq = (d->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    limits->n_head = hp->n_head_kv ? hp->n_head : 0;
    limits->n_head_kv = hp->n_head_kv;
    limits->head_dim_k = hp->head_dim_k;
    limits->head_dim_v = hp->head_dim_v;
    limits->n_expert_used = hp->n_expert_used;
    limits->wkv_size = hp->wkv_head_size;
    if (hp->wkv_head_size) limits->n_wkv = hp->n_embd / hp->wkv_head_size;
    if (hp->n_head_kv && !device->ops->attends(device, limits))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "there is no kernel for attention with heads of %d values (keys) and %d", hp->head_dim_k,
                        hp->head_dim_v);
    for (i = 1; i < w->n_tensors; i++) {
        const hyb_tensor *t = &w->tensors[i];
        if (!t->is_vector && i != net->embd && i != net->pos_embd && i != net->types &&
            !device->ops->show(device, limits, t))
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "there is no kernel for %s of type %s",
                            t->ne[2] > 1 ? "experts" : "matrices", hybrid_type_name(t->type));
        if (d->adapter_rank && !t->is_vector && i >= net->layers[0].first &&
            !hyb_limits_adapter(device, limits, t, d->adapter_rank))
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "there is no kernel for adapters");
    }
    return HYBRID_OK;
}

/* The same of a pass over sequences of n_ctx tokens that is trained on. */
static hybrid_result hyb_limits_of_training(hyb_device *device, const hyb_net *net, const hyb_weights *w,
                                            const hyb_hparams *hp, const hybrid_context_desc *d, hybrid_type operands,
                                            hyb_limits *limits, hybrid_error *error)
{
    hybrid_result r = hyb_limits_of(device, net, w, hp, d, limits, error);
    int32_t i;
    if (r) return r;
    limits->n_train = d->n_ctx;
    limits->operands = operands; /* matrices are shown once more with it */
    if (device->ops->is_host) return HYBRID_OK;
    if (hp->n_head_kv && !device->ops->attends(device, limits))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "this GPU has not the shared memory to train attention with heads of %d values (keys) and %d",
                        hp->head_dim_k, hp->head_dim_v);
    for (i = 1; i < w->n_tensors; i++) {
        const hyb_tensor *t = &w->tensors[i];
        if (!t->is_vector) device->ops->show(device, limits, t);
        if (!t->is_vector && d->adapter_rank) hyb_limits_adapter(device, limits, t, d->adapter_rank);
    }
    return HYBRID_OK;
}

/* Whether tensor i belongs on the GPU; it may not have been read yet. Divisors of rope frequencies are read on the host
 * only; a tied head whose embedding is on the GPU needs no second place. */
static bool hyb_place_holds(const hyb_place *place, const hyb_net *net, const hyb_weights *w, hyb_weight i)
{
    if (i == net->embd || i == net->pos_embd || i == net->types || i == net->embd_norm || i == net->embd_norm_b)
        return place->embd;
    if (i == net->rope_freqs || i == net->rope_long || i == net->rope_short) return false;
    if (i == net->head) return !(place->embd && w->tensors[i].same_as);
    return i == net->out_norm || i == net->out_norm_b || i >= net->layers[place->first].first;
}

static size_t hyb_place_bytes(const hyb_place *place, const hyb_net *net, const hyb_weights *w)
{
    size_t bytes = 0;
    int32_t i;
    for (i = 1; i < w->n_tensors; i++)
        if (hyb_place_holds(place, net, w, i)) bytes += hyb_align(hyb_weight_bytes(&w->tensors[i]), HYB_PLACE_ALIGN);
    return bytes;
}

/* Bytes that a layer keeps of sequences in a context of this size, with a cache of halves. */
static uint64_t hyb_place_state_bytes(const hyb_hparams *hp, int layer, const hybrid_context_desc *d)
{
    const size_t row = hybrid_type_row_bytes(HYBRID_TYPE_F16, (size_t)hp->head_dim_k) +
                       hybrid_type_row_bytes(HYBRID_TYPE_F16, (size_t)hp->head_dim_v);
    return (uint64_t)row * (uint64_t)hp->layers[layer].n_head_kv * (uint64_t)d->n_ctx +
           sizeof(float) * (uint64_t)hyb_layer_slot(hp, layer) * HYB_SLOTS_A_SEQ * (uint64_t)d->n_seq;
}

/* Decides. d: the context to leave room for, all numbers set. place->gpu stays NULL when not even one layer fits; why
 * says so. */
static void hyb_place_choose(hyb_place *place, hyb_device *gpu, const hyb_net *net, const hyb_weights *w,
                             const hyb_hparams *hp, const hybrid_context_desc *d, hybrid_error *why)
{
    hyb_activations a;
    hyb_limits limits;
    uint64_t fixed, need = 0, state = 0;
    int step, i;
    memset(place, 0, sizeof *place);
    if (hp->arch->has & HYB_HAS_BOTH_WAYS) {
        hyb_fail(why, HYBRID_ERROR_UNSUPPORTED, "there are no kernels for an encoder's attention on a GPU yet");
        return;
    }
    if (hyb_limits_of(gpu, net, w, hp, d, &limits, why)) return;
    hyb_activations_layout(&a, hp, d->n_batch, HYB_MIN(d->n_batch, d->n_logits), HYB_TOP_K_MAX, NULL);
    fixed = gpu->ops->cost(gpu, a.bytes) + gpu->ops->backend_cost(gpu, &limits);
    if (d->adapter_rank) fixed += gpu->ops->cost(gpu, hyb_narrow_bytes(hp, d));
    for (i = 0; i < hp->n_layer; i++) state += hyb_place_state_bytes(hp, i, d);
    for (step = 0; step <= hp->n_layer; step++) { /* all layers with the embedding, all without it, all but one, ... */
        place->embd = step == 0;
        place->first = HYB_MAX(step - 1, 0);
        place->bytes = hyb_place_bytes(place, net, w);
        if (place->first) state -= hyb_place_state_bytes(hp, place->first - 1, d);
        need = fixed + gpu->ops->cost(gpu, place->bytes) + gpu->ops->cost(gpu, (size_t)state);
        if (gpu->ops->fits(gpu, need)) {
            place->gpu = gpu;
            return;
        }
    }
    hyb_fail(why, HYBRID_ERROR_MEMORY,
             "one layer, the head and a context of %d positions need %llu MB of GPU memory, which are not free",
             d->n_ctx, (unsigned long long)(need >> 20) + 1);
}

/* Decides for a model that is to be trained: all of it is on the GPU, if there is room for its gradients and the two
 * moments of each weight as well, or for its gradients and the buffers through which moments on the host go; or nothing
 * is. */
static void hyb_place_choose_trained(hyb_place *place, hyb_device *gpu, const hyb_net *net, const hyb_weights *w,
                                     const hyb_hparams *hp, const hybrid_context_desc *d, hybrid_error *why)
{
    hyb_limits limits;
    size_t bytes = 0;
    uint64_t need;
    int32_t i;
    memset(place, 0, sizeof *place);
    for (i = 1; i < w->n_tensors; i++) /* as hyb_weights_read lays them out, which may have been */
        if (!w->tensors[i].same_as) bytes += hyb_align(hyb_weight_bytes(&w->tensors[i]), 64);
    if (hyb_limits_of_training(gpu, net, w, hp, d, HYBRID_TYPE_F32, &limits, why)) return;
    need = 4 * gpu->ops->cost(gpu, bytes) + gpu->ops->backend_cost(gpu, &limits);
    if (!gpu->ops->fits(gpu, need))
        need = 2 * gpu->ops->cost(gpu, bytes) + HYB_MIN(bytes / 2, (size_t)HYB_PLACE_BUFFERS) +
               gpu->ops->backend_cost(gpu, &limits);
    if (!gpu->ops->fits(gpu, need)) {
        hyb_fail(why, HYBRID_ERROR_MEMORY,
                 "weights and gradients, with moments on the host, need %llu MB of GPU memory, which are not free",
                 (unsigned long long)(need >> 20) + 1);
        return;
    }
    place->gpu = gpu;
    place->embd = place->trained = true;
    place->bytes = bytes;
}

/* What is trained, in one piece. */
static hybrid_result hyb_place_upload_trained(hyb_place *place, const hyb_weights *w, hybrid_error *error)
{
    hyb_device *gpu = place->gpu;
    int32_t i;
    hybrid_result r = gpu->ops->write(gpu, place->block, w->owned, w->owned_bytes, error);
    for (i = 1; i < w->n_tensors; i++)
        place->tensors[i].data = (char *)place->block + ((const unsigned char *)w->tensors[i].data - w->owned);
    return r ? r : gpu->ops->flush(gpu, error);
}

/* Copies the chosen weights to the GPU. w: the host's table, with data. */
static hybrid_result hyb_place_upload(hyb_place *place, hybrid_runtime *rt, const hyb_net *net, const hyb_weights *w,
                                      bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    hyb_device *gpu = place->gpu;
    const size_t table = (size_t)w->n_tensors * sizeof *w->tensors;
    size_t at = 0;
    int32_t i;
    hybrid_result r;
    if (!(place->tensors = (hyb_tensor *)hyb_calloc(rt, (size_t)w->n_tensors, sizeof *w->tensors)))
        return hyb_fail_memory(error, table);
    memcpy(place->tensors, w->tensors, table);
    if ((r = gpu->ops->alloc(gpu, place->bytes, &place->block, error)) != HYBRID_OK) return r;
    if (place->trained) return hyb_place_upload_trained(place, w, error);
    for (i = 1; i < w->n_tensors; i++) {
        const hyb_tensor *t = &w->tensors[i];
        char *to = (char *)place->block + at;
        if (!hyb_place_holds(place, net, w, i)) continue;
        place->tensors[i].data = to;
        if ((r = gpu->ops->write(gpu, to, t->data, hyb_weight_bytes(t), error)) != HYBRID_OK) return r;
        at += hyb_align(hyb_weight_bytes(t), HYB_PLACE_ALIGN);
        if (!hyb_report(progress, user, (float)((double)at / (double)place->bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    if (place->embd && w->tensors[net->head].same_as) place->tensors[net->head].data = place->tensors[net->embd].data;
    return gpu->ops->flush(gpu, error);
}

static void hyb_place_free(hyb_place *place, hybrid_runtime *rt)
{
    /* copies of an upload that was given up may still be under way */
    if (place->block) place->gpu->ops->flush(place->gpu, NULL);
    if (place->block) place->gpu->ops->free(place->gpu, place->block);
    hyb_free(rt, place->tensors);
    memset(place, 0, sizeof *place);
}
#endif
