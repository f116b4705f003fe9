/* model/parts/channel_mix: RWKV-7's feed-forward ("Goose", Peng et al. 2025): of each token mixed with the one before,
 * with the square of relu. */
#ifndef HYB_MODEL_PARTS_CHANNEL_MIX_C
#define HYB_MODEL_PARTS_CHANNEL_MIX_C
#include "../pass.c"

typedef struct hyb_channel_mix_w {
    hyb_weight norm, norm_b, shift, key, value;
} hyb_channel_mix_w;

static void hyb_channel_mix_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_channel_mix_w *w = (hyb_channel_mix_w *)part;
    const int64_t e = wl->hp->n_embd;
    w->norm = hyb_layer_vector(wl, true, e, "attn_norm_2.weight");
    if (wl->hp->arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "attn_norm_2.bias");
    w->shift = hyb_layer_vector(wl, true, e, "channel_mix_lerp_k.weight");
    w->key = hyb_layer_matrix(wl, true, e, l->n_ff, "channel_mix_key.weight");
    w->value = hyb_layer_matrix(wl, true, l->n_ff, e, "channel_mix_value.weight");
}

static void hyb_channel_mix_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    hyb_need(&needs->mixed, hp->n_embd);
    hyb_need(&needs->ffn, l->n_ff);
}

static int64_t hyb_channel_mix_slot(const hyb_hparams *hp) { return hp->n_embd; }

static void hyb_channel_mix_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_channel_mix_w *w = (const hyb_channel_mix_w *)part;
    const hyb_activations *a = &f->at->a;
    const int64_t e = f->hp->n_embd, n_ff = f->hp->layers[layer].n_ff;
    hyb_op_shift op;
    const float *shifted;
    hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    op.x = f->s->h;
    op.mix = hyb_vector(f, w->shift);
    op.n_mix = 1;
    op.n_embd = e;
    op.slots = f->state[layer].ffn;
    op.out = a->mixed;
    op.plane = f->n * e;
    hyb_do_shift(f->at->be, &op);
    if (hyb_ends_here(f, c, layer, false)) return;
    shifted = hyb_narrowed(f, c, layer, false, a->mixed, e);
    hyb_product(f, shifted, e, w->key, 0, a->ffn, n_ff);
    hyb_activate(f, HYB_ACT_RELU2, a->ffn, NULL, a->act, n_ff, f->n, n_ff);
    hyb_traced(f, "ffn_act", layer, a->act, f->n, n_ff, n_ff);
    hyb_part_out(f, "ffn_out", layer, a->act, n_ff, w->value, 0, 0);
}

static const hyb_part hyb_part_channel_mix = {
    "channel mixing",
    sizeof(hyb_channel_mix_w),
    false, /* keeps_pages */
    true,  /* looks_back */
    true,  /* host_trains */
    hyb_channel_mix_find,
    hyb_channel_mix_needs,
    hyb_channel_mix_slot, /* slot */
    hyb_channel_mix_forward,
    NULL, /* backward */
};
#endif
