/* model/parts/shortconv: the gated short convolution of LFM2 (Liquid AI 2025): a few tokens back, each value by itself.
 */
#ifndef HYB_MODEL_PARTS_SHORTCONV_C
#define HYB_MODEL_PARTS_SHORTCONV_C
#include "../back.c"

typedef struct hyb_shortconv_w {
    hyb_weight norm, in, conv, out;
} hyb_shortconv_w;

static void hyb_shortconv_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_shortconv_w *w = (hyb_shortconv_w *)part;
    const int64_t e = wl->hp->n_embd;
    HYB_UNUSED(l);
    w->norm = hyb_layer_vector(wl, true, e, "attn_norm.weight");
    w->in = hyb_layer_matrix(wl, true, e, 3 * e, "shortconv.in_proj.weight");
    w->conv = hyb_layer_vectors(wl, true, wl->hp->n_taps, e, "shortconv.conv.weight");
    w->out = hyb_layer_matrix(wl, true, e, e, "shortconv.out_proj.weight");
}

static void hyb_shortconv_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    HYB_UNUSED(l);
    hyb_need(&needs->mix, 3 * (int64_t)hp->n_embd);
    hyb_need(&needs->mixed, hp->n_embd);
}

static int64_t hyb_shortconv_slot(const hyb_hparams *hp) { return (int64_t)(hp->n_taps - 1) * hp->n_embd; }

static void hyb_shortconv_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_shortconv_w *w = (const hyb_shortconv_w *)part;
    const hyb_activations *a = &f->at->a;
    const int64_t e = f->hp->n_embd;
    hyb_op_shortconv op;
    const float *mixed;
    hyb_part_norm(f, "attn_norm", layer, w->norm, 0);
    hyb_product(f, f->s->h, e, w->in, 0, a->mix, 3 * e);
    hyb_traced(f, "conv_in", layer, a->mix, f->n, 3 * e, 3 * e);
    op.bcx = a->mix;
    op.bcx_stride = 3 * e;
    op.w = hyb_vector(f, w->conv);
    op.n_taps = f->hp->n_taps;
    op.n_embd = e;
    op.slots = f->state[layer].mixer;
    op.out = a->mixed;
    op.out_stride = e;
    hyb_do_shortconv(f->at->be, &op);
    hyb_traced(f, "conv", layer, a->mixed, f->n, e, e);
    if (hyb_ends_here(f, c, layer, true)) return;
    mixed = hyb_narrowed(f, c, layer, true, a->mixed, e);
    hyb_part_out(f, "attn_out", layer, mixed, e, w->out, 0, 0);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_shortconv_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_shortconv_w *w = (const hyb_shortconv_w *)part;
    const hyb_back *back = f->back;
    const int64_t e = f->hp->n_embd;
    hyb_op_shortconv_back op;
    hyb_back_products products;
    HYB_UNUSED(layer);
    hyb_part_out_back(f, f->at->a.mixed, back->dmixed, e, w->out, 0, 0);
    op.bcx = f->at->a.mix;
    op.bcx_stride = op.dbcx_stride = 3 * e;
    op.w = hyb_vector(f, w->conv);
    op.n_taps = f->hp->n_taps;
    op.n_embd = e;
    op.dout = back->dmixed;
    op.dout_stride = e;
    op.dbcx = back->dmix;
    op.dw = hyb_grad(f, w->conv);
    hyb_do_shortconv_back(f->at->be, &op);
    hyb_normed(f, f->s->h, f->s->x, w->norm, 0);
    hyb_back_products_begin(&products, f, f->s->h, e);
    hyb_back_products_add(&products, w->in, 0, back->dmix, 3 * e);
    hyb_back_products_do(&products, back->dh, e);
    hyb_part_norm_back(f, w->norm, 0);
}
#endif

static const hyb_part hyb_part_shortconv = {
    "short convolution",
    sizeof(hyb_shortconv_w),
    false, /* keeps_pages */
    false, /* looks_back */
    hyb_shortconv_find,
    hyb_shortconv_needs,
    hyb_shortconv_slot, /* slot */
    hyb_shortconv_forward,
    HYB_BACKWARD(hyb_shortconv_backward),
};
#endif
