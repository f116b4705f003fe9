/* model/place: which layers run where. What fits goes to the GPU, from the last layer backwards, the head before all
 * (it is the largest matrix); the layers before stay on the host. The file remains the weights' home: on the host they
 * are used from there. */

typedef struct hyb_place {
    hyb_device *gpu; /* NULL: everything runs on the host */
    int32_t first;   /* layers first .. n_layer - 1, the last norm and the head are on the GPU */
    bool embd;       /* and the embedding: then nothing runs on the host */
    size_t bytes;    /* of weights there, in one block */
    void *block;
    hyb_weights w; /* the tensors as ops see them: addresses on the GPU for what is there */
} hyb_place;

enum { HYB_PLACE_ALIGN = 256 };

/* A descriptor with every zero replaced by what is used. */
static hybrid_result hyb_context_defaults(const hyb_hparams *hp, const hybrid_context_desc *given,
                                          hybrid_context_desc *d, hybrid_error *error)
{
    if (given)
        *d = *given;
    else
        memset(d, 0, sizeof *d);
    if (d->n_ctx < 0 || d->n_seq < 0 || d->n_batch < 0 || d->n_logits < 0 || d->n_candidates < 0 ||
        (unsigned)d->kv > HYBRID_KV_F32)
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "a number of the context's descriptor is out of range (n_ctx %d, n_seq %d, n_batch %d, n_logits %d, kv %d)",
            d->n_ctx, d->n_seq, d->n_batch, d->n_logits, (int)d->kv);
    if (!d->n_ctx) d->n_ctx = HYB_MIN(hp->n_ctx_train, 4096);
    if (!d->n_seq) d->n_seq = 1;
    if (!d->n_batch) d->n_batch = 512;
    d->n_batch = HYB_MIN(d->n_batch, d->n_ctx);
    if (!d->n_logits) d->n_logits = d->n_seq;
    d->n_candidates = HYB_MIN(d->n_candidates, (int32_t)HYB_TOP_K_MAX);
    if (d->n_seq > 65535 || d->n_batch > 65535 || d->n_ctx > INT32_MAX - 65536 - HYB_PAGE)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "n_seq and n_batch may be 65535 at most, n_ctx %d",
                        INT32_MAX - 65536 - HYB_PAGE);
    if (hp->arch->learned_pos && d->n_ctx > hp->n_ctx_train && d->n_seq == 1)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx,
                        hp->n_ctx_train);
    return HYBRID_OK;
}

/* What contexts of this size will ask of a back end for the layers from `first` on, with or without the embedding. */
static hybrid_result hyb_limits_of(hyb_device *device, hyb_weights *w, const hyb_hparams *hp,
                                   const hybrid_context_desc *d, hyb_limits *limits, hybrid_error *error)
{
    size_t i;
    const hyb_tensor *t;
    memset(limits, 0, sizeof *limits);
    limits->n_rows = d->n_batch;
    limits->n_out = HYB_MIN(d->n_batch, d->n_logits);
    limits->n_vocab = hp->n_vocab;
    limits->n_top = d->n_candidates;
    limits->n_seq = d->n_seq;
    limits->pages_a_seq = (d->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    limits->n_head = hp->n_head;
    limits->n_head_kv = hp->n_head_kv;
    limits->head_dim_k = hp->head_dim_k;
    limits->head_dim_v = hp->head_dim_v;
    limits->n_expert_used = hp->n_expert_used;
    if (!device->ops->attends(device, limits))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "there is no kernel for attention with heads of %d values (keys) and %d", hp->head_dim_k,
                        hp->head_dim_v);
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++)
        if (t->name && !t->is_vector && t != &w->embd && t != &w->pos_embd && !device->ops->show(device, limits, t))
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "there is no kernel for %s of type %s",
                            t->ne[2] > 1 ? "experts" : "matrices", hybrid_type_name(t->type));
    return HYBRID_OK;
}

/* Whether a tensor of the table w belongs on the GPU; it may not have been read yet. Divisors of rope frequencies are
 * read on the host only. */
static bool hyb_place_holds(const hyb_place *place, const hyb_weights *w, const hyb_tensor *t)
{
    if (!t->name) return false;
    if (t == &w->embd || t == &w->pos_embd) return place->embd;
    if (t == &w->rope_freqs || t == &w->rope_long || t == &w->rope_short) return false;
    if (t == &w->out_norm || t == &w->out_norm_b || t == &w->head)
        return !(t == &w->head && place->embd && hyb_weights_is_tied(w, t));
    return t >= (const hyb_tensor *)(const void *)&w->layers[place->first];
}

static size_t hyb_place_bytes(const hyb_place *place, hyb_weights *w, const hyb_hparams *hp)
{
    size_t i, bytes = 0;
    const hyb_tensor *t;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++)
        if (hyb_place_holds(place, w, t)) bytes += hyb_align(hyb_weight_bytes(t), HYB_PLACE_ALIGN);
    return bytes;
}

/* Decides. d: the context to leave room for, all numbers set. place->gpu stays NULL when not even one layer fits; why
 * says so. */
static void hyb_place_choose(hyb_place *place, hyb_device *gpu, hyb_weights *w, const hyb_hparams *hp,
                             const hybrid_context_desc *d, hybrid_error *why)
{
    const size_t kv_layer = (hybrid_type_row_bytes(HYBRID_TYPE_F16, (size_t)hp->head_dim_k) +
                             hybrid_type_row_bytes(HYBRID_TYPE_F16, (size_t)hp->head_dim_v)) *
                            (size_t)hp->n_head_kv * (size_t)d->n_ctx;
    hyb_activations a;
    hyb_limits limits;
    uint64_t fixed, need = 0;
    int step;
    memset(place, 0, sizeof *place);
    if (hyb_limits_of(gpu, w, hp, d, &limits, why)) return;
    hyb_activations_layout(&a, hp, d->n_batch, HYB_MIN(d->n_batch, d->n_logits), HYB_TOP_K_MAX, NULL);
    fixed = gpu->ops->cost(gpu, a.bytes) + gpu->ops->backend_cost(gpu, &limits);
    for (step = 0; step <= hp->n_layer; step++) { /* all with the embedding, all without it, all but one, ... */
        place->embd = step == 0;
        place->first = HYB_MAX(step - 1, 0);
        place->bytes = hyb_place_bytes(place, w, hp);
        need = fixed + gpu->ops->cost(gpu, place->bytes) +
               gpu->ops->cost(gpu, kv_layer * (size_t)(hp->n_layer - place->first));
        if (gpu->ops->fits(gpu, need)) {
            place->gpu = gpu;
            return;
        }
    }
    hyb_fail(why, HYBRID_ERROR_MEMORY,
             "one layer, the head and a context of %d positions need %llu MB of GPU memory, which are not free",
             d->n_ctx, (unsigned long long)(need >> 20) + 1);
}

/* Copies the chosen weights to the GPU. w: the host's table, with data. */
static hybrid_result hyb_place_upload(hyb_place *place, hybrid_runtime *rt, hyb_weights *w, const hyb_hparams *hp,
                                      bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    hyb_device *gpu = place->gpu;
    size_t i, at = 0;
    hyb_tensor *t, *mine;
    hybrid_result r;
    place->w = *w;
    place->w.owned = NULL;
    if (!(place->w.layers = (hyb_layer *)hyb_calloc(rt, (size_t)hp->n_layer, sizeof *w->layers)))
        return hyb_fail_memory(error, (size_t)hp->n_layer * sizeof *w->layers);
    memcpy(place->w.layers, w->layers, (size_t)hp->n_layer * sizeof *w->layers);
    if ((r = gpu->ops->alloc(gpu, place->bytes, &place->block, error)) != HYBRID_OK) return r;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++) {
        if (!hyb_place_holds(place, w, t)) continue;
        mine = hyb_weights_item(&place->w, hp, i);
        mine->data = (char *)place->block + at;
        if ((r = gpu->ops->write(gpu, (char *)place->block + at, t->data, hyb_weight_bytes(t), error)) != HYBRID_OK)
            return r;
        at += hyb_align(hyb_weight_bytes(t), HYB_PLACE_ALIGN);
        if (!hyb_report(progress, user, (float)((double)at / (double)place->bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    if (place->embd && hyb_weights_is_tied(w, &w->head)) place->w.head = place->w.embd;
    return gpu->ops->flush(gpu, error);
}

static void hyb_place_free(hyb_place *place, hybrid_runtime *rt)
{
    if (place->block) place->gpu->ops->flush(place->gpu, NULL); /* an upload that was given up may still be copying */
    if (place->block) place->gpu->ops->free(place->gpu, place->block);
    hyb_free(rt, place->w.layers);
    memset(place, 0, sizeof *place);
}
