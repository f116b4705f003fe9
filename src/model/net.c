/* model/net: which parts the layers of a model have, and which tensors. */
#ifndef HYB_MODEL_NET_C
#define HYB_MODEL_NET_C
#include "parts/attention.c"
#include "parts/shortconv.c"
#include "parts/time_mix.c"
#include "parts/experts.c"
#include "parts/channel_mix.c"

/* In the order of hyb_part_kind. */
static const hyb_part *const hyb_parts[HYB_PART_COUNT] = {
    &hyb_part_attention, &hyb_part_shortconv, &hyb_part_time_mix,
    &hyb_part_ffn,       &hyb_part_experts,   &hyb_part_channel_mix,
};

/* What the layers ask of the memory of a pass. */
static hyb_needs hyb_net_needs(const hyb_hparams *hp)
{
    hyb_needs needs;
    int i;
    memset(&needs, 0, sizeof needs);
    for (i = 0; i < hp->n_layer; i++) {
        const hyb_layer_hp *l = &hp->layers[i];
        hyb_parts[l->mixer]->needs(hp, l, &needs);
        hyb_parts[l->ffn]->needs(hp, l, &needs);
    }
    return needs;
}

/* Values of one slot of a layer: of the mixer's state, then of the other part's. */
static int64_t hyb_layer_slot_mixer(const hyb_hparams *hp, int layer)
{
    const hyb_part *part = hyb_parts[hp->layers[layer].mixer];
    return part->slot ? part->slot(hp) : 0;
}
static int64_t hyb_layer_slot(const hyb_hparams *hp, int layer)
{
    const hyb_part *part = hyb_parts[hp->layers[layer].ffn];
    return hyb_layer_slot_mixer(hp, layer) + (part->slot ? part->slot(hp) : 0);
}

/* Slots for each sequence: one for its state; and one for what a decode makes of that or, between decodes, for the
 * state before the last decode. */
enum { HYB_SLOTS_A_SEQ = 2 };

/* Whether sequences have a state that cannot be cut at any position. */
static bool hyb_net_recurs(const hyb_hparams *hp)
{
    int i;
    for (i = 0; i < hp->n_layer; i++)
        if (hyb_layer_slot(hp, i)) return true;
    return false;
}

/* The parts of every layer, with room for their structures. */
static hybrid_result hyb_net_create(hyb_net *net, hybrid_runtime *rt, const hyb_hparams *hp, hybrid_error *error)
{
    size_t bytes = 0;
    char *w;
    int i;
    for (i = 0; i < hp->n_layer; i++)
        bytes += hyb_parts[hp->layers[i].mixer]->w_bytes + hyb_parts[hp->layers[i].ffn]->w_bytes;
    if (!(net->layers = (hyb_layer *)hyb_calloc(rt, (size_t)hp->n_layer, sizeof *net->layers)))
        return hyb_fail_memory(error, (size_t)hp->n_layer * sizeof *net->layers);
    if (!(net->w = (char *)hyb_calloc(rt, bytes, 1))) return hyb_fail_memory(error, bytes);
    for (i = 0, w = net->w; i < hp->n_layer; i++) { /* structures of int32_t alone: any order is aligned */
        hyb_layer *l = &net->layers[i];
        l->mixer = hyb_parts[hp->layers[i].mixer];
        l->mixer_w = w;
        w += l->mixer->w_bytes;
        l->ffn = hyb_parts[hp->layers[i].ffn];
        l->ffn_w = w;
        w += l->ffn->w_bytes;
    }
    return HYBRID_OK;
}

static void hyb_net_free(hybrid_runtime *rt, hyb_net *net)
{
    hyb_free(rt, net->layers);
    hyb_free(rt, net->w);
}

static void hyb_net_find_rope(hyb_loader *wl, hyb_net *net)
{
    const hyb_hparams *hp = wl->hp;
    const bool longrope = hp->rope_scaling == HYB_SCALING_LONGROPE;
    const int64_t n = hp->n_rot / 2;
    if (!n) return;
    if (!longrope) net->rope_freqs = hyb_find_vector(wl, false, n, "rope_freqs.weight");
    if (longrope) net->rope_long = hyb_find_vector(wl, true, n, "rope_factors_long.weight");
    if (longrope) net->rope_short = hyb_find_vector(wl, true, n, "rope_factors_short.weight");
}

/* Everything but the layers. */
static void hyb_net_find_ends(hyb_loader *wl, hyb_net *net)
{
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd;
    const unsigned has = hp->arch->has;
    const bool biased = hp->arch->norm == HYB_NORM_LAYER;
    const bool other_name = (has & HYB_HAS_LFM2_NAME) && (hybrid_gguf_find_tensor(wl->gguf, "token_embd_norm.weight") ||
                                                          !hybrid_gguf_find_tensor(wl->gguf, "output_norm.weight"));
    const bool own_head = hp->arch->ffn == HYB_PART_CHANNEL_MIX; /* never the embedding */
    net->embd = hyb_find_matrix(wl, true, e, hp->n_vocab, "token_embd.weight");
    if (has & HYB_HAS_POS_EMBD) net->pos_embd = hyb_find_matrix(wl, true, e, hp->n_ctx_train, "position_embd.weight");
    if (has & HYB_HAS_EMBD_NORM) net->embd_norm = hyb_find_vector(wl, true, e, "token_embd_norm.weight");
    if ((has & HYB_HAS_EMBD_NORM) && biased) net->embd_norm_b = hyb_find_vector(wl, true, e, "token_embd_norm.bias");
    if (has & HYB_HAS_BOTH_WAYS)
        net->types =
            hyb_find_matrix(wl, false, e, hyb_first_width(wl->gguf, "token_types.weight", 0), "token_types.weight");
    else
        net->out_norm = hyb_find_vector(wl, true, e, other_name ? "token_embd_norm.weight" : "output_norm.weight");
    if (biased && net->out_norm) net->out_norm_b = hyb_find_vector(wl, true, e, "output_norm.bias");
    if (!(has & HYB_HAS_BOTH_WAYS)) net->head = hyb_find_matrix(wl, own_head, e, hp->n_vocab, "output.weight");
    if (net->head || wl->failure.result) return;
    net->head = wl->w->n_tensors++; /* tied */
    wl->w->tensors[net->head] = wl->w->tensors[net->embd];
    wl->w->tensors[net->head].same_as = net->embd;
}

/* The embedding, which says how many tokens there are. */
static hybrid_result hyb_net_vocab(const hybrid_gguf *gguf, hyb_hparams *hp, hybrid_error *error)
{
    const hybrid_gguf_tensor *embd = hybrid_gguf_find_tensor(gguf, "token_embd.weight");
    if (!embd && !hybrid_gguf_tensor_count(gguf))
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
    return HYBRID_OK;
}

/* Finds and checks every tensor; sets hp->n_vocab from the embedding. */
static hybrid_result hyb_net_find(hyb_net *net, hybrid_runtime *rt, const hybrid_gguf *gguf, hyb_hparams *hp,
                                  hyb_weights *w, hybrid_error *error)
{
    hyb_loader wl;
    hybrid_result r;
    int i, n_mixtures = 0;
    if ((r = hyb_net_vocab(gguf, hp, error)) != HYBRID_OK) return r;
    if ((r = hyb_weights_create(w, rt, gguf, error)) != HYBRID_OK) return r;
    if ((r = hyb_net_create(net, rt, hp, error)) != HYBRID_OK) return r;
    wl.gguf = gguf;
    wl.hp = hp;
    wl.w = w;
    wl.failure.result = HYBRID_OK;
    hyb_net_find_ends(&wl, net);
    hyb_net_find_rope(&wl, net);
    for (i = 0; i < hp->n_layer && !wl.failure.result; i++) {
        hyb_layer *l = &net->layers[i];
        wl.layer = i;
        l->first = w->n_tensors;
        l->mixer->find(&wl, &hp->layers[i], l->mixer_w);
        l->ffn->find(&wl, &hp->layers[i], l->ffn_w);
        n_mixtures += hp->layers[i].ffn == HYB_PART_EXPERTS;
    }
    if (hp->n_expert && !n_mixtures)
        hyb_keep(&wl.failure, HYBRID_ERROR_FORMAT,
                 "the model's key '%s.expert_count' is %d, but no layer has a tensor "
                 "'ffn_gate_inp.weight', which chooses experts",
                 hp->arch->name, hp->n_expert);
    return hyb_kept(&wl.failure, error);
}
#endif
