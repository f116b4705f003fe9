/* model/weights: the tensors of a model by role, found by name, checked against the hyperparameters.
 *
 * The names are those of GGUF. A tensor that is absent has no data. Which ones a family needs follows from what is
 * there: separate or fused q, k, v; gated, fused-gated or plain feed-forward; a mixture of experts or one for all
 * tokens. Only what is computed with may be looked up: whoever is found is marked, and model/unused refuses the file
 * for the others. */

typedef struct hyb_layer {
    hyb_tensor attn_norm, attn_norm_b;
    hyb_tensor wqkv, bqkv; /* fused, or */
    hyb_tensor wq, wk, wv, bq, bk, bv;
    hyb_tensor q_norm, k_norm; /* over each head */
    hyb_tensor wo, bo;
    hyb_tensor attn_post_norm;
    hyb_tensor ffn_norm, ffn_norm_b;
    hyb_tensor gate, gate_b, up, up_b, down, down_b; /* gate absent and up twice as high: fused, gate first */
    hyb_tensor ffn_post_norm;
    hyb_tensor router; /* there: gate, up and down are those of all experts, one behind the other */
    hyb_tensor shared_router, shared_gate, shared_up, shared_down;
} hyb_layer;

typedef struct hyb_weights {
    hyb_tensor embd, pos_embd, out_norm, out_norm_b, head;
    hyb_tensor rope_freqs, rope_long, rope_short; /* divisors of the rope frequencies */
    hyb_layer *layers;
    unsigned char *used;  /* of each tensor of the file; NULL once that is settled */
    unsigned char *owned; /* the bytes of all tensors, when they are not used in place */
} hyb_weights;

typedef struct hyb_weight_loader {
    const hybrid_gguf *gguf;
    const hyb_hparams *hp;
    unsigned char *used;
    hybrid_error *error;
    hybrid_result result;
} hyb_weight_loader;

/* Types that vectors may have in a file. They are computed with as F32. */
static bool hyb_is_vector_type(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_F16 || type == HYBRID_TYPE_BF16;
}

/* Looks a tensor up; ne1 = 0: a vector of ne0 floats. A wrong shape or type is an error, absence is one when
 * `required`. */
static void hyb_weight_3d(hyb_weight_loader *wl, hyb_tensor *t, bool required, int64_t ne0, int64_t ne1, int64_t ne2,
                          const char *name)
{
    const hybrid_gguf_tensor *src = hybrid_gguf_find_tensor(wl->gguf, name);
    memset(t, 0, sizeof *t);
    if (wl->result) return;
    if (!src) {
        if (required)
            wl->result =
                hyb_fail(wl->error, HYBRID_ERROR_FORMAT,
                         "the model has no tensor '%s', which its architecture '%s' needs", name, wl->hp->arch->name);
        return;
    }
    if (src->ne[0] != (uint64_t)ne0 || src->ne[1] != (uint64_t)(ne1 ? ne1 : 1) || src->ne[2] != (uint64_t)ne2 ||
        src->ne[3] != 1) {
        wl->result =
            hyb_fail_at(wl->error, HYBRID_ERROR_FORMAT, src->offset,
                        "tensor '%s' is %llu x %llu x %llu, but the model's keys ask for %lld x %lld x %lld", name,
                        (unsigned long long)src->ne[0], (unsigned long long)src->ne[1], (unsigned long long)src->ne[2],
                        (long long)ne0, (long long)(ne1 ? ne1 : 1), (long long)ne2);
        return;
    }
    if (!hybrid_type_block_bytes(src->type)) {
        wl->result = hyb_fail_at(wl->error, HYBRID_ERROR_UNSUPPORTED, src->offset,
                                 "tensor '%s' has type %lu (%s), which hybrid cannot run: get this model in another "
                                 "quantization, Q4_K_M or Q8_0",
                                 name, (unsigned long)src->type_id, hybrid_gguf_tensor_type_name(src->type_id));
        return;
    }
    if (!ne1 && !hyb_is_vector_type(src->type)) {
        wl->result =
            hyb_fail_at(wl->error, HYBRID_ERROR_UNSUPPORTED, src->offset,
                        "tensor '%s' has type %s; vectors must be F32, F16 or BF16", name, hybrid_type_name(src->type));
        return;
    }
    t->source = (uint32_t)hyb_gguf_tensor_index(wl->gguf, src);
    wl->used[t->source] = 1;
    t->name = src->name.data;
    t->type = ne1 ? src->type : HYBRID_TYPE_F32;
    t->is_vector = !ne1;
    t->ne[0] = ne0;
    t->ne[1] = ne1 ? ne1 : 1;
    t->ne[2] = ne2;
    t->ne[3] = 1;
    t->nb[0] = hybrid_type_block_bytes(t->type);
    t->nb[1] = hybrid_type_row_bytes(t->type, (size_t)ne0);
    t->nb[2] = t->nb[1] * (size_t)t->ne[1];
    t->nb[3] = t->nb[2] * (size_t)t->ne[2];
    /* NULL when not in place, until hyb_weights_read: an odd address is no place, and a vector of halves becomes
     * one of floats */
    t->data = (uintptr_t)src->data % 8 || t->type != src->type ? NULL : src->data;
}
static void hyb_weight(hyb_weight_loader *wl, hyb_tensor *t, bool required, int64_t ne0, int64_t ne1, const char *name)
{
    hyb_weight_3d(wl, t, required, ne0, ne1, 1, name);
}
static size_t hyb_weight_bytes(const hyb_tensor *t) { return t->nb[3]; }

/* dst = a vector of the file as floats. Halves are read into the upper half of dst, where they are out of the floats'
 * way. */
static hybrid_result hyb_vector_read(hybrid_gguf *gguf, const hybrid_gguf_tensor *src, unsigned char *dst,
                                     hybrid_error *error)
{
    const size_t n = (size_t)src->ne[0];
    unsigned char *halves = dst + 2 * n;
    float value;
    size_t i;
    hybrid_result r;
    if (src->type == HYBRID_TYPE_F32) return hybrid_gguf_read_tensor(gguf, src, dst, error);
    if ((r = hybrid_gguf_read_tensor(gguf, src, halves, error)) != HYBRID_OK) return r;
    for (i = 0; i < n; i++) {
        const uint16_t half = hyb_load_u16(halves + 2 * i);
        value = src->type == HYBRID_TYPE_F16 ? hyb_f16_to_f32(half) : hyb_bf16_to_f32(half);
        memcpy(dst + 4 * i, &value, 4);
    }
    return HYBRID_OK;
}

static bool hyb_layer_has(const hyb_weight_loader *wl, int layer, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, suffix);
    return hybrid_gguf_find_tensor(wl->gguf, name) != NULL;
}

#define HYB_FIND(field, required, ne0, ne1, suffix) \
    (snprintf(name, sizeof name, "blk.%d." suffix, layer), hyb_weight(wl, &l->field, required, ne0, ne1, name))
#define HYB_FIND_EXPERTS(field, ne0, ne1, suffix)          \
    (snprintf(name, sizeof name, "blk.%d." suffix, layer), \
     hyb_weight_3d(wl, &l->field, true, ne0, ne1, hp->n_expert, name))

static void hyb_layer_find_ffn(hyb_weight_loader *wl, hyb_layer *l, int layer)
{
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, f = hp->n_ff;
    const bool plain = (hp->arch->parts & HYB_PART_PLAIN_FFN) != 0;
    const bool gated = !plain && hyb_layer_has(wl, layer, "ffn_gate.weight");
    const int64_t up = plain || gated ? f : 2 * f;
    char name[64];
    if (gated) HYB_FIND(gate, true, e, f, "ffn_gate.weight");
    if (gated) HYB_FIND(gate_b, false, f, 0, "ffn_gate.bias");
    HYB_FIND(up, true, e, up, "ffn_up.weight");
    HYB_FIND(up_b, false, up, 0, "ffn_up.bias");
    HYB_FIND(down, true, f, e, "ffn_down.weight");
    HYB_FIND(down_b, false, e, 0, "ffn_down.bias");
    if (hp->arch->parts & HYB_PART_POST_NORM) HYB_FIND(ffn_post_norm, true, e, 0, "post_ffw_norm.weight");
}

static void hyb_layer_find_experts(hyb_weight_loader *wl, hyb_layer *l, int layer)
{
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, f = hp->n_ff_expert, s = hp->n_ff_shared;
    char name[64];
    if (!hp->n_expert) {
        if (!wl->result)
            wl->result = hyb_fail(wl->error, HYBRID_ERROR_FORMAT,
                                  "layer %d has a tensor 'ffn_gate_inp.weight', which chooses experts, but the model's "
                                  "key '%s.expert_count' is missing or 0",
                                  layer, hp->arch->name);
        return;
    }
    if (hyb_layer_has(wl, layer, "ffn_down.0.weight") && !wl->result) {
        wl->result = hyb_fail(wl->error, HYBRID_ERROR_UNSUPPORTED,
                              "layer %d has a tensor for each expert ('ffn_down.0.weight'), as files had until April "
                              "2024; convert the model again, or get a newer file of it",
                              layer);
        return;
    }
    HYB_FIND(router, true, e, hp->n_expert, "ffn_gate_inp.weight");
    HYB_FIND_EXPERTS(gate, e, f, "ffn_gate_exps.weight");
    HYB_FIND_EXPERTS(up, e, f, "ffn_up_exps.weight");
    HYB_FIND_EXPERTS(down, f, e, "ffn_down_exps.weight");
    if (hp->arch->mixture != HYB_MIXTURE_SHARES) return;
    HYB_FIND(shared_router, true, e, 1, "ffn_gate_inp_shexp.weight");
    HYB_FIND(shared_gate, true, e, s, "ffn_gate_shexp.weight");
    HYB_FIND(shared_up, true, e, s, "ffn_up_shexp.weight");
    HYB_FIND(shared_down, true, s, e, "ffn_down_shexp.weight");
}

static void hyb_layer_find(hyb_weight_loader *wl, hyb_layer *l, int layer)
{
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, q = (int64_t)hp->n_head * hp->head_dim_k, k = (int64_t)hp->n_head_kv * hp->head_dim_k,
                  v = (int64_t)hp->n_head_kv * hp->head_dim_v, o = (int64_t)hp->n_head * hp->head_dim_v;
    const bool biased_norm = hp->arch->norm == HYB_NORM_LAYER;
    char name[64];
    HYB_FIND(attn_norm, true, e, 0, "attn_norm.weight");
    if (biased_norm) HYB_FIND(attn_norm_b, true, e, 0, "attn_norm.bias");
    if (hyb_layer_has(wl, layer, "attn_qkv.weight")) {
        HYB_FIND(wqkv, true, e, q + k + v, "attn_qkv.weight");
        HYB_FIND(bqkv, false, q + k + v, 0, "attn_qkv.bias");
    } else {
        HYB_FIND(wq, true, e, q, "attn_q.weight");
        HYB_FIND(wk, true, e, k, "attn_k.weight");
        HYB_FIND(wv, true, e, v, "attn_v.weight");
        HYB_FIND(bq, false, q, 0, "attn_q.bias");
        HYB_FIND(bk, false, k, 0, "attn_k.bias");
        HYB_FIND(bv, false, v, 0, "attn_v.bias");
    }
    if (hp->arch->parts & HYB_PART_QK_NORM) {
        HYB_FIND(q_norm, true, hp->head_dim_k, 0, "attn_q_norm.weight");
        HYB_FIND(k_norm, true, hp->head_dim_k, 0, "attn_k_norm.weight");
    }
    HYB_FIND(wo, true, o, e, "attn_output.weight");
    HYB_FIND(bo, false, e, 0, "attn_output.bias");
    if (hp->arch->parts & HYB_PART_POST_NORM) HYB_FIND(attn_post_norm, true, e, 0, "post_attention_norm.weight");
    HYB_FIND(ffn_norm, true, e, 0, "ffn_norm.weight");
    if (biased_norm) HYB_FIND(ffn_norm_b, true, e, 0, "ffn_norm.bias");
    if (hyb_layer_has(wl, layer, "ffn_gate_inp.weight"))
        hyb_layer_find_experts(wl, l, layer);
    else
        hyb_layer_find_ffn(wl, l, layer);
}
#undef HYB_FIND_EXPERTS
#undef HYB_FIND

/* Finds and checks every tensor; sets hp->n_vocab from the embedding. */
static hybrid_result hyb_weights_find(hybrid_runtime *rt, const hybrid_gguf *gguf, hyb_hparams *hp, hyb_weights *w,
                                      hybrid_error *error)
{
    const hybrid_gguf_tensor *embd = hybrid_gguf_find_tensor(gguf, "token_embd.weight");
    const bool biased_norm = hp->arch->norm == HYB_NORM_LAYER, longrope = hp->rope_scaling == HYB_SCALING_LONGROPE;
    const size_t n = hybrid_gguf_tensor_count(gguf);
    hyb_weight_loader wl;
    int i, n_mixtures = 0;
    if (!embd && !n)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the file holds no tensors: it is a vocabulary only, or the head of a model; load the "
                        "model itself");
    if (!embd)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the file has no tensor 'token_embd.weight': it is not a whole model (one part of a "
                        "split file?)");
    if (embd->ne[1] < 1 || embd->ne[1] > (1 << 28))
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, embd->offset, "'token_embd.weight' has %llu rows",
                           (unsigned long long)embd->ne[1]);
    hp->n_vocab = (int32_t)embd->ne[1];
    if (!(w->layers = (hyb_layer *)hyb_calloc(rt, (size_t)hp->n_layer, sizeof *w->layers)))
        return hyb_fail_memory(error, (size_t)hp->n_layer * sizeof *w->layers);
    if (!(w->used = (unsigned char *)hyb_calloc(rt, n, 1))) return hyb_fail_memory(error, n);
    wl.gguf = gguf;
    wl.hp = hp;
    wl.used = w->used;
    wl.error = error;
    wl.result = HYBRID_OK;
    hyb_weight(&wl, &w->embd, true, hp->n_embd, hp->n_vocab, "token_embd.weight");
    if (hp->arch->learned_pos) hyb_weight(&wl, &w->pos_embd, true, hp->n_embd, hp->n_ctx_train, "position_embd.weight");
    hyb_weight(&wl, &w->out_norm, true, hp->n_embd, 0, "output_norm.weight");
    if (biased_norm) hyb_weight(&wl, &w->out_norm_b, true, hp->n_embd, 0, "output_norm.bias");
    hyb_weight(&wl, &w->head, false, hp->n_embd, hp->n_vocab, "output.weight");
    if (hp->n_rot) {
        if (!longrope) hyb_weight(&wl, &w->rope_freqs, false, hp->n_rot / 2, 0, "rope_freqs.weight");
        if (longrope) hyb_weight(&wl, &w->rope_long, true, hp->n_rot / 2, 0, "rope_factors_long.weight");
        if (longrope) hyb_weight(&wl, &w->rope_short, true, hp->n_rot / 2, 0, "rope_factors_short.weight");
    }
    for (i = 0; i < hp->n_layer && !wl.result; i++) {
        hyb_layer_find(&wl, &w->layers[i], i);
        n_mixtures += w->layers[i].router.name != NULL;
    }
    if (hp->n_expert && !n_mixtures && !wl.result)
        wl.result = hyb_fail(error, HYBRID_ERROR_FORMAT,
                             "the model's key '%s.expert_count' is %d, but no layer has a tensor "
                             "'ffn_gate_inp.weight', which chooses experts",
                             hp->arch->name, hp->n_expert);
    if (!w->head.name) w->head = w->embd; /* tied */
    return wl.result;
}

/* The i-th tensor of the model, NULL behind the last. */
static hyb_tensor *hyb_weights_item(hyb_weights *w, const hyb_hparams *hp, size_t i)
{
    const size_t n_top = offsetof(hyb_weights, layers) / sizeof(hyb_tensor),
                 n_layer = sizeof(hyb_layer) / sizeof(hyb_tensor);
    if (i < n_top) return (hyb_tensor *)(void *)w + i;
    i -= n_top;
    return i < n_layer * (size_t)hp->n_layer ? (hyb_tensor *)(void *)&w->layers[i / n_layer] + i % n_layer : NULL;
}

static bool hyb_weights_is_tied(const hyb_weights *w, const hyb_tensor *t)
{
    return t == &w->head && w->head.name == w->embd.name;
}

/* Bytes of own memory that hyb_weights_read takes: 0 when the file is used in place. */
static size_t hyb_weights_bytes(hyb_weights *w, const hyb_hparams *hp)
{
    size_t i, bytes = 0;
    const hyb_tensor *t;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++)
        if (t->name && !t->data && !hyb_weights_is_tied(w, t)) bytes += hyb_align(hyb_weight_bytes(t), 64);
    return bytes;
}

/* Bytes of the file that are used where they are. */
static uint64_t hyb_weights_in_place(hyb_weights *w, const hyb_hparams *hp)
{
    size_t i;
    uint64_t bytes = 0;
    const hyb_tensor *t;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++)
        if (t->name && t->data && !hyb_weights_is_tied(w, t)) bytes += hyb_weight_bytes(t);
    return bytes;
}

static const hybrid_gguf_tensor *hyb_weights_source(const hybrid_gguf *gguf, const hyb_tensor *t)
{
    return hybrid_gguf_tensor_at(gguf, t->source);
}

/* Reads what is not in place. progress may be NULL. */
static hybrid_result hyb_weights_read(hybrid_runtime *rt, hybrid_gguf *gguf, const hyb_hparams *hp, hyb_weights *w,
                                      bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    const size_t bytes = hyb_weights_bytes(w, hp);
    size_t i, at = 0;
    hyb_tensor *t;
    if (!bytes) return HYBRID_OK;
    if (!(w->owned = (unsigned char *)hyb_alloc_aligned(rt, bytes))) return hyb_fail_memory(error, bytes);
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++) {
        const hybrid_gguf_tensor *src;
        hybrid_result r;
        if (!t->name || t->data || hyb_weights_is_tied(w, t)) continue;
        src = hyb_weights_source(gguf, t);
        r = t->is_vector ? hyb_vector_read(gguf, src, w->owned + at, error)
                         : hybrid_gguf_read_tensor(gguf, src, w->owned + at, error);
        if (r) return r;
        t->data = w->owned + at;
        at += hyb_align(hyb_weight_bytes(t), 64);
        if (!hyb_report(progress, user, (float)((double)at / (double)bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    if (hyb_weights_is_tied(w, &w->head)) w->head = w->embd;
    return HYBRID_OK;
}

static void hyb_weights_free(hybrid_runtime *rt, hyb_weights *w)
{
    hyb_free_aligned(rt, w->owned);
    hyb_free(rt, w->used);
    hyb_free(rt, w->layers);
}
