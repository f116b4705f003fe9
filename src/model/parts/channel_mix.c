/* model/parts/channel_mix: RWKV-7's feed-forward ("Goose", Peng et al. 2025): of each token mixed with the one before,
 * with the square of relu. */
#ifndef HYB_MODEL_PARTS_CHANNEL_MIX_C
#define HYB_MODEL_PARTS_CHANNEL_MIX_C
#include "../back.c"

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
    hyb_need(&needs->act, l->n_ff);
}

static int64_t hyb_channel_mix_slot(const hyb_hparams *hp) { return hp->n_embd; }

/* mixed (n, E) = h, of each token some of the one before */
static void hyb_channel_mix_shift(hyb_forward *f, int layer, const hyb_channel_mix_w *w)
{
    hyb_op_shift op;
    op.x = f->s->h;
    op.mix = hyb_vector(f, w->shift);
    op.n_mix = 1;
    op.n_embd = f->hp->n_embd;
    op.slots = f->state[layer].ffn;
    op.out = f->at->a.mixed;
    op.plane = f->n * op.n_embd;
    hyb_do_shift(f->at->be, &op);
}

static void hyb_channel_mix_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_channel_mix_w *w = (const hyb_channel_mix_w *)part;
    const hyb_activations *a = &f->at->a;
    const int64_t e = f->hp->n_embd, n_ff = f->hp->layers[layer].n_ff;
    const float *shifted;
    hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    hyb_channel_mix_shift(f, layer, w);
    if (hyb_ends_here(f, c, layer, false)) return;
    shifted = hyb_narrowed(f, c, layer, false, a->mixed, e);
    hyb_product(f, shifted, e, w->key, 0, a->ffn, n_ff);
    hyb_activate(f, HYB_ACT_RELU2, a->ffn, NULL, a->act, n_ff, f->n, n_ff);
    hyb_traced(f, "ffn_act", layer, a->act, f->n, n_ff, n_ff);
    hyb_part_out(f, "ffn_out", layer, a->act, n_ff, w->value, 0, 0);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_channel_mix_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_channel_mix_w *w = (const hyb_channel_mix_w *)part;
    const hyb_activations *a = &f->at->a;
    const int64_t e = f->hp->n_embd, n_ff = f->hp->layers[layer].n_ff;
    hyb_op_glu_back glu;
    hyb_op_shift_back shift;
    hyb_back_products products;
    hyb_activate(f, HYB_ACT_RELU2, a->ffn, NULL, a->act, n_ff, f->n, n_ff);
    hyb_part_out_back(f, a->act, f->back->dact, n_ff, w->value, 0, 0);
    memset(&glu, 0, sizeof glu);
    glu.act = HYB_ACT_RELU2;
    glu.gate = glu.dgate = a->ffn;
    glu.stride = glu.dout_stride = glu.n = n_ff;
    glu.dout = f->back->dact;
    glu.n_rows = f->n;
    hyb_do_glu_back(f->at->be, &glu);
    hyb_back_products_begin(&products, f, a->mixed, e);
    hyb_back_products_add(&products, w->key, 0, a->ffn, n_ff);
    hyb_back_products_do(&products, f->back->dmixed, e);
    hyb_normed(f, f->s->h, f->s->x, w->norm, w->norm_b);
    shift.x = f->s->h;
    shift.mix = hyb_vector(f, w->shift);
    shift.n_mix = 1;
    shift.n_embd = e;
    shift.dout = f->back->dmixed;
    shift.plane = f->n * e;
    shift.dx = f->back->dh;
    shift.dmix = hyb_grad(f, w->shift);
    hyb_do_shift_back(f->at->be, &shift);
    hyb_part_norm_back(f, w->norm, w->norm_b);
}
#endif

static const hyb_part hyb_part_channel_mix = {
    "channel mixing",
    sizeof(hyb_channel_mix_w),
    false, /* keeps_pages */
    true,  /* looks_back */
    hyb_channel_mix_find,
    hyb_channel_mix_needs,
    hyb_channel_mix_slot, /* slot */
    hyb_channel_mix_forward,
    HYB_BACKWARD(hyb_channel_mix_backward),
};
#endif
