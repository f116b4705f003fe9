/* model/parts/ffn: the feed-forward of every token: gated (Shazeer 2020), with gate and up apart or in one matrix, or
 * plain. */
#ifndef HYB_MODEL_PARTS_FFN_C
#define HYB_MODEL_PARTS_FFN_C
#include "../back.c"

typedef struct hyb_ffn_w {
    hyb_weight norm, norm_b;
    hyb_weight gate, gate_b, up, up_b, down, down_b; /* no gate and up twice as high: fused, the gate first */
    hyb_weight post_norm;
    hyb_weight sum_norm, sum_norm_b; /* instead of norm */
} hyb_ffn_w;

static void hyb_ffn_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_ffn_w *w = (hyb_ffn_w *)part;
    const hyb_arch *arch = wl->hp->arch;
    const int64_t e = wl->hp->n_embd, f = l->n_ff;
    const bool plain = (arch->has & HYB_HAS_PLAIN_FFN) != 0;
    const bool gated = !plain && hyb_layer_has(wl, "ffn_gate.weight");
    const int64_t up = plain || gated ? f : 2 * f;
    if (arch->has & HYB_HAS_SUM_NORM) {
        w->sum_norm = hyb_layer_vector(wl, true, e, "layer_output_norm.weight");
        w->sum_norm_b = hyb_layer_vector(wl, true, e, "layer_output_norm.bias");
    } else {
        w->norm = hyb_layer_vector(wl, true, e, "ffn_norm.weight");
        if (arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "ffn_norm.bias");
    }
    if (gated) w->gate = hyb_layer_matrix(wl, true, e, f, "ffn_gate.weight");
    if (gated) w->gate_b = hyb_layer_vector(wl, false, f, "ffn_gate.bias");
    w->up = hyb_layer_matrix(wl, true, e, up, "ffn_up.weight");
    w->up_b = hyb_layer_vector(wl, false, up, "ffn_up.bias");
    w->down = hyb_layer_matrix(wl, true, f, e, "ffn_down.weight");
    w->down_b = hyb_layer_vector(wl, false, e, "ffn_down.bias");
    if (arch->has & HYB_HAS_POST_NORM) w->post_norm = hyb_layer_vector(wl, true, e, "post_ffw_norm.weight");
}

/* Gate and up lie side by side. */
static int64_t hyb_ffn_stride(bool plain, int64_t n_ff) { return plain ? n_ff : 2 * n_ff; }

/* What is made of them lies on the gate, or has a place of its own without gaps. */
static int64_t hyb_act_stride(const hyb_activations *a, int64_t ffn_stride, int64_t n_ff)
{
    return a->act == a->ffn ? ffn_stride : n_ff;
}

static void hyb_ffn_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    hyb_need(&needs->ffn, hyb_ffn_stride((hp->arch->has & HYB_HAS_PLAIN_FFN) != 0, l->n_ff));
    hyb_need(&needs->act, l->n_ff);
    if (hp->arch->has & HYB_HAS_POST_NORM) hyb_need(&needs->block, hp->n_embd);
}

/* There is no gate: neither a matrix of its own, nor the upper half of `up`. */
static bool hyb_ffn_plain(const hyb_forward *f, int64_t n_ff, hyb_weight gate, hyb_weight up)
{
    return !gate && hyb_tensor_of(f, up)->ne[1] == n_ff;
}

/* ffn -> act (n, F): act(gate) * up, or act(up) where there is no gate. Returns the stride of act. */
static int64_t hyb_ffn_act(hyb_forward *f, int64_t n_ff, bool plain)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_glu glu;
    glu.act = f->hp->arch->act;
    glu.gate = a->ffn;
    glu.up = plain ? NULL : a->ffn + n_ff;
    glu.out = a->act;
    glu.gate_stride = glu.up_stride = hyb_ffn_stride(plain, n_ff);
    glu.out_stride = hyb_act_stride(a, glu.gate_stride, n_ff);
    glu.n_rows = f->n;
    glu.n = n_ff;
    hyb_do_glu(f->at->be, &glu);
    return glu.out_stride;
}

/* h (n, E) -> act (n, F), of hyb_ffn_act */
static int64_t hyb_ffn_hidden(hyb_forward *f, const float *h, int64_t n_ff, hyb_weight gate, hyb_weight gate_b,
                              hyb_weight up, hyb_weight up_b)
{
    const hyb_activations *a = &f->at->a;
    const bool plain = hyb_ffn_plain(f, n_ff, gate, up);
    const int64_t stride = hyb_ffn_stride(plain, n_ff);
    hyb_op_matmul mm;
    hyb_matmul_begin(f, &mm, h, f->hp->n_embd);
    if (gate) hyb_matmul_out_set(f, &mm, gate, gate_b, NULL, a->ffn, stride);
    hyb_matmul_out_set(f, &mm, up, up_b, NULL, gate ? a->ffn + n_ff : a->ffn, stride);
    hyb_products(f, &mm);
    return hyb_ffn_act(f, n_ff, plain);
}

static void hyb_ffn_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_ffn_w *w = (const hyb_ffn_w *)part;
    const int64_t n_ff = f->hp->layers[layer].n_ff;
    const float *h = hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    const int64_t stride = hyb_ffn_hidden(f, h, n_ff, w->gate, w->gate_b, w->up, w->up_b);
    HYB_UNUSED(c);
    hyb_traced(f, "ffn_act", layer, f->at->a.act, f->n, n_ff, stride);
    hyb_part_out(f, "ffn_out", layer, f->at->a.act, stride, w->down, w->down_b, w->post_norm);
    hyb_part_sum_norm(f, w->sum_norm, w->sum_norm_b);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_ffn_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_ffn_w *w = (const hyb_ffn_w *)part;
    const hyb_activations *a = &f->at->a;
    const int64_t n_ff = f->hp->layers[layer].n_ff;
    const bool plain = hyb_ffn_plain(f, n_ff, w->gate, w->up);
    const int64_t stride = hyb_ffn_stride(plain, n_ff);
    hyb_op_glu_back glu;
    hyb_back_products products;
    hyb_ffn_act(f, n_ff, plain); /* once more: it would be a third of what is kept */
    hyb_part_out_back(f, a->act, f->back->dact, n_ff, w->down, w->down_b, w->post_norm);
    glu.act = f->hp->arch->act;
    glu.gate = glu.dgate = a->ffn; /* which is not read again */
    glu.up = glu.dup = plain ? NULL : a->ffn + n_ff;
    glu.stride = stride;
    glu.dout = f->back->dact;
    glu.dout_stride = n_ff;
    glu.n_rows = f->n;
    glu.n = n_ff;
    hyb_do_glu_back(f->at->be, &glu);
    hyb_normed(f, f->s->h, f->s->x, w->norm, w->norm_b);
    hyb_back_products_begin(&products, f, f->s->h, f->hp->n_embd);
    if (w->gate) hyb_back_products_add(&products, w->gate, w->gate_b, a->ffn, stride);
    hyb_back_products_add(&products, w->up, w->up_b, w->gate ? a->ffn + n_ff : a->ffn, stride);
    hyb_back_products_do(&products, f->back->dh, f->hp->n_embd);
    hyb_part_norm_back(f, w->norm, w->norm_b);
}
#endif

static const hyb_part hyb_part_ffn = {
    "feed-forward",
    sizeof(hyb_ffn_w),
    false, /* keeps_pages */
    false, /* looks_back */
    hyb_ffn_find,
    hyb_ffn_needs,
    NULL, /* slot */
    hyb_ffn_forward,
    HYB_BACKWARD(hyb_ffn_backward),
};
#endif
