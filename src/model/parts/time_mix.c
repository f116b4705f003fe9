/* model/parts/time_mix: RWKV-7's recurrence ("Goose", Peng et al. 2025): a matrix for each head that decays, and that
 * every token corrects by one step of the delta rule. */
#ifndef HYB_MODEL_PARTS_TIME_MIX_C
#define HYB_MODEL_PARTS_TIME_MIX_C
#include "../pass.c"

typedef struct hyb_time_mix_w {
    hyb_weight norm, norm_b;
    hyb_weight shift; /* rows r, w, k, v, a, and g where there is a gate */
    hyb_weight r, k, v, out;
    hyb_weight w0, w1, w2; /* decay of the state, */
    hyb_weight a0, a1, a2; /* rate of learning, */
    hyb_weight v0, v1, v2; /* share of the first layer's values, none in that layer, */
    hyb_weight g1, g2;     /* gate: each through a narrow product */
    hyb_weight k_k, k_a, r_k, ln, ln_b;
} hyb_time_mix_w;

static void hyb_time_mix_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_time_mix_w *w = (hyb_time_mix_w *)part;
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd;
    const bool needs_ln = hp->arch->ffn == HYB_PART_CHANNEL_MIX;
    HYB_UNUSED(l);
    w->norm = hyb_layer_vector(wl, true, e, "attn_norm.weight");
    if (hp->arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "attn_norm.bias");
    w->shift = hyb_layer_vectors(wl, true, e, hp->n_gate ? 6 : 5, "time_mix_lerp_fused.weight");
    w->r = hyb_layer_matrix(wl, true, e, e, "time_mix_receptance.weight");
    w->k = hyb_layer_matrix(wl, true, e, e, "time_mix_key.weight");
    w->v = hyb_layer_matrix(wl, true, e, e, "time_mix_value.weight");
    w->out = hyb_layer_matrix(wl, true, e, e, "time_mix_output.weight");
    w->w0 = hyb_layer_vector(wl, true, e, "time_mix_w0.weight");
    w->w1 = hyb_layer_matrix(wl, true, e, hp->n_decay, "time_mix_w1.weight");
    w->w2 = hyb_layer_matrix(wl, true, hp->n_decay, e, "time_mix_w2.weight");
    w->a0 = hyb_layer_vector(wl, true, e, "time_mix_a0.weight");
    w->a1 = hyb_layer_matrix(wl, true, e, hp->n_rate, "time_mix_a1.weight");
    w->a2 = hyb_layer_matrix(wl, true, hp->n_rate, e, "time_mix_a2.weight");
    if (wl->layer) {
        w->v0 = hyb_layer_vector(wl, true, e, "time_mix_v0.weight");
        w->v1 = hyb_layer_matrix(wl, true, e, hp->n_value_mix, "time_mix_v1.weight");
        w->v2 = hyb_layer_matrix(wl, true, hp->n_value_mix, e, "time_mix_v2.weight");
    }
    if (hp->n_gate) {
        w->g1 = hyb_layer_matrix(wl, true, e, hp->n_gate, "time_mix_g1.weight");
        w->g2 = hyb_layer_matrix(wl, true, hp->n_gate, e, "time_mix_g2.weight");
    }
    w->k_k = hyb_layer_vector(wl, true, e, "time_mix_k_k.weight");
    w->k_a = hyb_layer_vector(wl, true, e, "time_mix_k_a.weight");
    w->r_k = hyb_layer_vector(wl, true, e, "time_mix_r_k.weight");
    w->ln = hyb_layer_vector(wl, needs_ln, e, "time_mix_ln.weight");
    if (w->ln) w->ln_b = hyb_layer_vector(wl, true, e, "time_mix_ln.bias");
}

/* What time mixing makes of the shifted rows, each (n, E) without gaps; and the narrow rows after them. */
enum {
    HYB_TIME_R,
    HYB_TIME_K,
    HYB_TIME_V,
    HYB_TIME_DECAY,
    HYB_TIME_RATE,
    HYB_TIME_VALUE_GATE,
    HYB_TIME_GATE,
    HYB_TIME_NARROW
};

static void hyb_time_mix_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    const int64_t narrow = HYB_MAX(HYB_MAX(hp->n_decay, hp->n_rate), HYB_MAX(hp->n_value_mix, hp->n_gate));
    HYB_UNUSED(l);
    hyb_need(&needs->mix, 6 * (int64_t)hp->n_embd);
    hyb_need(&needs->mixed, hp->n_embd);
    hyb_need(&needs->ffn, HYB_TIME_NARROW * (int64_t)hp->n_embd + narrow);
    hyb_need(&needs->carry, hp->n_embd);
}

/* The row before, then the matrices. */
static int64_t hyb_time_mix_slot(const hyb_hparams *hp)
{
    return (int64_t)hp->n_embd + (int64_t)hp->n_embd * hp->wkv_head_size;
}

/* y (n, E) = act(x A^T) B^T + bias, where x A^T is n_narrow wide. act NULL: none. */
static void hyb_time_mix_narrow(hyb_forward *f, const float *x, hyb_weight a, const hyb_act_kind *act, hyb_weight b,
                                hyb_weight bias, float *y)
{
    const int64_t e = f->hp->n_embd, n = hyb_tensor_of(f, a)->ne[1], at = HYB_TIME_NARROW * e * f->n;
    const float *hidden = f->at->a.ffn + at;
    hyb_product(f, x, e, a, 0, f->at->a.ffn + at, n);
    if (act) {
        hyb_activate(f, *act, hidden, NULL, f->at->a.act + at, n, f->n, n);
        hidden = f->at->a.act + at;
    }
    hyb_product(f, hidden, n, b, bias, y, e);
}

static void hyb_time_mix_shift(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    hyb_op_shift op;
    op.x = f->s->h;
    op.mix = hyb_vector(f, w->shift);
    op.n_mix = f->hp->n_gate ? 6 : 5;
    op.n_embd = f->hp->n_embd;
    op.slots = f->state[layer].mixer;
    op.out = f->at->a.mix;
    op.plane = f->n * op.n_embd;
    hyb_do_shift(f->at->be, &op);
}

/* Everything that the recurrence reads, from the shifted rows: see the enumeration. */
static void hyb_time_mix_products(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    static const hyb_act_kind tanh_act = HYB_ACT_TANH, sigmoid = HYB_ACT_SIGMOID;
    const int64_t e = f->hp->n_embd, plane = f->n * e;
    const float *r = f->at->a.mix, *d = r + plane, *k = d + plane, *v = k + plane, *a = v + plane, *g = a + plane;
    float *y = f->at->a.ffn;
    hyb_product(f, r, e, w->r, 0, y + HYB_TIME_R * plane, e);
    hyb_product(f, k, e, w->k, 0, y + HYB_TIME_K * plane, e);
    hyb_product(f, v, e, w->v, 0, layer ? y + HYB_TIME_V * plane : f->at->a.carry, e);
    hyb_time_mix_narrow(f, d, w->w1, &tanh_act, w->w2, w->w0, y + HYB_TIME_DECAY * plane);
    hyb_time_mix_narrow(f, a, w->a1, NULL, w->a2, w->a0, y + HYB_TIME_RATE * plane);
    if (layer) hyb_time_mix_narrow(f, v, w->v1, NULL, w->v2, w->v0, y + HYB_TIME_VALUE_GATE * plane);
    if (w->g1) hyb_time_mix_narrow(f, g, w->g1, &sigmoid, w->g2, 0, y + HYB_TIME_GATE * plane);
    hyb_traced(f, "r", layer, y + HYB_TIME_R * plane, f->n, e, e);
    hyb_traced(f, "k", layer, y + HYB_TIME_K * plane, f->n, e, e);
    hyb_traced(f, "v", layer, layer ? y + HYB_TIME_V * plane : f->at->a.carry, f->n, e, e);
}

static void hyb_time_mix_recur(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    const hyb_activations *a = &f->at->a;
    const int64_t e = f->hp->n_embd, plane = f->n * e;
    hyb_op_wkv7 op;
    op.r = a->ffn + HYB_TIME_R * plane;
    op.k = a->ffn + HYB_TIME_K * plane;
    op.v = layer ? a->ffn + HYB_TIME_V * plane : a->carry;
    op.v_first = layer ? a->carry : NULL;
    op.decay = a->ffn + HYB_TIME_DECAY * plane;
    op.rate = a->ffn + HYB_TIME_RATE * plane;
    op.value_gate = layer ? a->ffn + HYB_TIME_VALUE_GATE * plane : NULL;
    op.gate = w->g1 ? a->ffn + HYB_TIME_GATE * plane : NULL;
    op.stride = op.v_first_stride = op.out_stride = e;
    op.k_k = hyb_vector(f, w->k_k);
    op.k_a = hyb_vector(f, w->k_a);
    op.r_k = hyb_vector(f, w->r_k);
    op.ln_w = hyb_vector(f, w->ln);
    op.ln_b = hyb_vector(f, w->ln_b);
    op.eps = 64e-5f;
    op.size = f->hp->wkv_head_size;
    op.n_head = f->hp->n_embd / op.size;
    op.slots = f->state[layer].mixer;
    op.slots.data += e; /* after the row of the shift */
    op.out = a->mixed;
    hyb_do_wkv7(f->at->be, &op);
    hyb_traced(f, "wkv", layer, a->mixed, f->n, e, e);
}

static void hyb_time_mix_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_time_mix_w *w = (const hyb_time_mix_w *)part;
    const int64_t e = f->hp->n_embd;
    const float *mixed;
    hyb_part_norm(f, "attn_norm", layer, w->norm, w->norm_b);
    hyb_time_mix_shift(f, layer, w);
    hyb_time_mix_products(f, layer, w);
    hyb_time_mix_recur(f, layer, w);
    if (hyb_ends_here(f, c, layer, true)) return;
    mixed = hyb_narrowed(f, c, layer, true, f->at->a.mixed, e);
    hyb_part_out(f, "attn_out", layer, mixed, e, w->out, 0, 0);
}

static const hyb_part hyb_part_time_mix = {
    "time mixing",
    sizeof(hyb_time_mix_w),
    false, /* keeps_pages */
    false, /* looks_back */
    true,  /* host_trains */
    hyb_time_mix_find,
    hyb_time_mix_needs,
    hyb_time_mix_slot, /* slot */
    hyb_time_mix_forward,
    NULL, /* backward */
};
#endif
