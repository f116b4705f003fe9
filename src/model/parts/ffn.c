/* model/parts/ffn: the feed-forward of every token: gated (Shazeer 2020), with gate and up apart or in one matrix, or
 * plain. */
#ifndef HYB_MODEL_PARTS_FFN_C
#define HYB_MODEL_PARTS_FFN_C
#include "../pass.c"

typedef struct hyb_ffn_w {
    hyb_weight norm, norm_b;
    hyb_weight gate, gate_b, up, up_b, down, down_b; /* no gate and up twice as high: fused, the gate first */
    hyb_weight post_norm;
} hyb_ffn_w;

static void hyb_ffn_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_ffn_w *w = (hyb_ffn_w *)part;
    const hyb_arch *arch = wl->hp->arch;
    const int64_t e = wl->hp->n_embd, f = l->n_ff;
    const bool plain = (arch->has & HYB_HAS_PLAIN_FFN) != 0;
    const bool gated = !plain && hyb_layer_has(wl, "ffn_gate.weight");
    const int64_t up = plain || gated ? f : 2 * f;
    w->norm = hyb_layer_vector(wl, true, e, "ffn_norm.weight");
    if (arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "ffn_norm.bias");
    if (gated) w->gate = hyb_layer_matrix(wl, true, e, f, "ffn_gate.weight");
    if (gated) w->gate_b = hyb_layer_vector(wl, false, f, "ffn_gate.bias");
    w->up = hyb_layer_matrix(wl, true, e, up, "ffn_up.weight");
    w->up_b = hyb_layer_vector(wl, false, up, "ffn_up.bias");
    w->down = hyb_layer_matrix(wl, true, f, e, "ffn_down.weight");
    w->down_b = hyb_layer_vector(wl, false, e, "ffn_down.bias");
    if (arch->has & HYB_HAS_POST_NORM) w->post_norm = hyb_layer_vector(wl, true, e, "post_ffw_norm.weight");
}

static void hyb_ffn_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    HYB_UNUSED(hp);
    hyb_need(&needs->ffn, 2 * (int64_t)l->n_ff); /* gate and up side by side */
}

/* h (n, E) -> act (n, F) at stride 2F: act(gate) * up, or act(up) where nothing is a gate. */
static void hyb_ffn_hidden(hyb_forward *f, int64_t n_ff, hyb_weight gate, hyb_weight gate_b, hyb_weight up,
                           hyb_weight up_b)
{
    const hyb_activations *a = &f->at->a;
    const bool plain = !gate && hyb_tensor_of(f, up)->ne[1] == n_ff;
    hyb_op_matmul mm;
    hyb_matmul_begin(f, &mm, f->s->h, f->hp->n_embd);
    if (gate) hyb_matmul_out_set(f, &mm, gate, gate_b, NULL, a->ffn, 2 * n_ff);
    hyb_matmul_out_set(f, &mm, up, up_b, NULL, gate ? a->ffn + n_ff : a->ffn, 2 * n_ff);
    hyb_do_matmul(f->at->be, &mm);
    hyb_activate(f, f->hp->arch->act, a->ffn, plain ? NULL : a->ffn + n_ff, a->act, 2 * n_ff, f->n, n_ff);
}

static void hyb_ffn_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_ffn_w *w = (const hyb_ffn_w *)part;
    const int64_t n_ff = f->hp->layers[layer].n_ff;
    HYB_UNUSED(c);
    hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    hyb_ffn_hidden(f, n_ff, w->gate, w->gate_b, w->up, w->up_b);
    hyb_traced(f, "ffn_act", layer, f->at->a.act, f->n, n_ff, 2 * n_ff);
    hyb_part_out(f, "ffn_out", layer, f->at->a.act, 2 * n_ff, w->down, w->down_b, w->post_norm);
}

static const hyb_part hyb_part_ffn = {
    "feed-forward",  sizeof(hyb_ffn_w), false, /* keeps_pages */
    false,                                     /* looks_back */
    hyb_ffn_find,    hyb_ffn_needs,     NULL,  /* slot */
    hyb_ffn_forward,
};
#endif
