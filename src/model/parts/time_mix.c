/* model/parts/time_mix: RWKV-7's recurrence ("Goose", Peng et al. 2025): a matrix for each head that decays, and that
 * every token corrects by one step of the delta rule. */
#ifndef HYB_MODEL_PARTS_TIME_MIX_C
#define HYB_MODEL_PARTS_TIME_MIX_C
#include "../back.c"

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
    hyb_need(&needs->act, narrow);
    hyb_need(&needs->carry, hp->n_embd);
}

/* The row before, then the matrices. */
static int64_t hyb_time_mix_slot(const hyb_hparams *hp)
{
    return (int64_t)hp->n_embd + (int64_t)hp->n_embd * hp->wkv_head_size;
}

/* Where the narrow rows are. */
static float *hyb_time_mix_hidden(const hyb_forward *f)
{
    return f->at->a.ffn + HYB_TIME_NARROW * (int64_t)f->hp->n_embd * f->n;
}

/* act(x A^T), where x A^T is n_narrow wide and stands in the place of the narrow rows. act NULL: none. */
static const float *hyb_time_mix_low(hyb_forward *f, const float *x, hyb_weight a, const hyb_act_kind *act)
{
    const int64_t n = hyb_tensor_of(f, a)->ne[1];
    float *hidden = hyb_time_mix_hidden(f), *to = f->at->a.act == f->at->a.ffn ? hidden : f->at->a.act;
    hyb_product(f, x, f->hp->n_embd, a, 0, hidden, n);
    if (!act) return hidden;
    hyb_activate(f, *act, hidden, NULL, to, n, f->n, n);
    return to;
}

/* y (n, E) = act(x A^T) B^T + bias */
static void hyb_time_mix_narrow(hyb_forward *f, const float *x, hyb_weight a, const hyb_act_kind *act, hyb_weight b,
                                hyb_weight bias, float *y)
{
    const float *hidden = hyb_time_mix_low(f, x, a, act);
    hyb_product(f, hidden, hyb_tensor_of(f, a)->ne[1], b, bias, y, f->hp->n_embd);
}

static const hyb_act_kind hyb_time_mix_tanh = HYB_ACT_TANH, hyb_time_mix_sigmoid = HYB_ACT_SIGMOID;

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
    const int64_t e = f->hp->n_embd, plane = f->n * e;
    const float *r = f->at->a.mix, *d = r + plane, *k = d + plane, *v = k + plane, *a = v + plane, *g = a + plane;
    float *y = f->at->a.ffn;
    hyb_product(f, r, e, w->r, 0, y + HYB_TIME_R * plane, e);
    hyb_product(f, k, e, w->k, 0, y + HYB_TIME_K * plane, e);
    hyb_product(f, v, e, w->v, 0, layer ? y + HYB_TIME_V * plane : f->at->a.carry, e);
    hyb_time_mix_narrow(f, d, w->w1, &hyb_time_mix_tanh, w->w2, w->w0, y + HYB_TIME_DECAY * plane);
    hyb_time_mix_narrow(f, a, w->a1, NULL, w->a2, w->a0, y + HYB_TIME_RATE * plane);
    if (layer) hyb_time_mix_narrow(f, v, w->v1, NULL, w->v2, w->v0, y + HYB_TIME_VALUE_GATE * plane);
    if (w->g1) hyb_time_mix_narrow(f, g, w->g1, &hyb_time_mix_sigmoid, w->g2, 0, y + HYB_TIME_GATE * plane);
    hyb_traced(f, "r", layer, y + HYB_TIME_R * plane, f->n, e, e);
    hyb_traced(f, "k", layer, y + HYB_TIME_K * plane, f->n, e, e);
    hyb_traced(f, "v", layer, layer ? y + HYB_TIME_V * plane : f->at->a.carry, f->n, e, e);
}

/* What the recurrence reads, and where it writes. */
static hyb_op_wkv7 hyb_time_mix_op(hyb_forward *f, int layer, const hyb_time_mix_w *w)
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
    return op;
}

static void hyb_time_mix_recur(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    const hyb_op_wkv7 op = hyb_time_mix_op(f, layer, w);
    const int64_t e = f->hp->n_embd;
    hyb_do_wkv7(f->at->be, &op);
    hyb_traced(f, "wkv", layer, f->at->a.mixed, f->n, e, e);
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

#ifndef HYBRID_NO_TRAIN
/* dmixed -> the gradients of all that the recurrence read, in its place; that of the first layer's values is summed up
 * in dcarry until that layer's turn. */
static void hyb_time_mix_recur_back(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    const int64_t e = f->hp->n_embd, plane = f->n * e;
    float *y = f->at->a.ffn;
    hyb_op_wkv7_back op;
    hyb_op_add add;
    memset(&op, 0, sizeof op);
    op.of = hyb_time_mix_op(f, layer, w);
    op.dout = f->back->dmixed;
    op.dout_stride = e;
    op.dr = y + HYB_TIME_R * plane;
    op.dk = y + HYB_TIME_K * plane;
    op.dv = y + HYB_TIME_V * plane;
    op.ddecay = y + HYB_TIME_DECAY * plane;
    op.drate = y + HYB_TIME_RATE * plane;
    op.dvalue_gate = y + HYB_TIME_VALUE_GATE * plane;
    op.dgate = y + HYB_TIME_GATE * plane;
    op.dv_first = f->back->dcarry;
    op.dk_k = hyb_grad(f, w->k_k);
    op.dk_a = hyb_grad(f, w->k_a);
    op.dr_k = hyb_grad(f, w->r_k);
    op.dln_w = hyb_grad(f, w->ln);
    op.dln_b = hyb_grad(f, w->ln_b);
    hyb_do_wkv7_back(f->at->be, &op);
    if (layer) return;
    add.a = add.out = op.dv;
    add.b = f->back->dcarry;
    add.n = plane;
    hyb_do_add(f->at->be, &add);
}

/* dx (n, E) = what dy (n, E) makes of it, of one product. */
static void hyb_time_mix_product_back(hyb_forward *f, const float *x, hyb_weight w, const float *dy, float *dx)
{
    hyb_back_products products;
    hyb_back_products_begin(&products, f, x, f->hp->n_embd);
    hyb_back_products_add(&products, w, 0, dy, hyb_tensor_of(f, w)->ne[1]);
    hyb_back_products_do(&products, dx, f->hp->n_embd);
}

/* The same of hyb_time_mix_narrow: what is narrow is made again. */
static void hyb_time_mix_narrow_back(hyb_forward *f, const float *x, hyb_weight a, const hyb_act_kind *act,
                                     hyb_weight b, hyb_weight bias, const float *dy, float *dx)
{
    const int64_t n = hyb_tensor_of(f, a)->ne[1];
    const float *hidden = hyb_time_mix_low(f, x, a, act);
    float *dhidden = act ? hyb_time_mix_hidden(f) : f->back->dact;
    hyb_back_products products;
    hyb_op_glu_back glu;
    hyb_back_products_begin(&products, f, hidden, n);
    hyb_back_products_add(&products, b, bias, dy, f->hp->n_embd);
    hyb_back_products_do(&products, f->back->dact, n);
    memset(&glu, 0, sizeof glu);
    glu.act = act ? *act : HYB_ACT_TANH;
    glu.gate = glu.dgate = dhidden;
    glu.stride = glu.dout_stride = glu.n = n;
    glu.dout = f->back->dact;
    glu.n_rows = f->n;
    if (act) hyb_do_glu_back(f->at->be, &glu);
    hyb_time_mix_product_back(f, x, a, dhidden, dx);
}

/* The gradients of the shifted rows, from those of what the recurrence read. */
static void hyb_time_mix_products_back(hyb_forward *f, int layer, const hyb_time_mix_w *w)
{
    const int64_t plane = f->n * (int64_t)f->hp->n_embd;
    const float *r = f->at->a.mix, *d = r + plane, *k = d + plane, *v = k + plane, *a = v + plane, *g = a + plane;
    const float *y = f->at->a.ffn;
    float *to = f->back->dmix;
    hyb_op_add add;
    hyb_time_mix_product_back(f, r, w->r, y + HYB_TIME_R * plane, to);
    hyb_time_mix_narrow_back(f, d, w->w1, &hyb_time_mix_tanh, w->w2, w->w0, y + HYB_TIME_DECAY * plane, to + plane);
    hyb_time_mix_product_back(f, k, w->k, y + HYB_TIME_K * plane, to + 2 * plane);
    hyb_time_mix_product_back(f, v, w->v, y + HYB_TIME_V * plane, to + 3 * plane);
    hyb_time_mix_narrow_back(f, a, w->a1, NULL, w->a2, w->a0, y + HYB_TIME_RATE * plane, to + 4 * plane);
    if (w->g1)
        hyb_time_mix_narrow_back(f, g, w->g1, &hyb_time_mix_sigmoid, w->g2, 0, y + HYB_TIME_GATE * plane,
                                 to + 5 * plane);
    if (!layer) return;
    hyb_time_mix_narrow_back(f, v, w->v1, NULL, w->v2, w->v0, y + HYB_TIME_VALUE_GATE * plane, f->back->dmixed);
    add.a = add.out = to + 3 * plane;
    add.b = f->back->dmixed;
    add.n = plane;
    hyb_do_add(f->at->be, &add);
}

static void hyb_time_mix_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_time_mix_w *w = (const hyb_time_mix_w *)part;
    const int64_t e = f->hp->n_embd;
    hyb_op_shift_back shift;
    hyb_part_out_back(f, f->at->a.mixed, f->back->dmixed, e, w->out, 0, 0);
    hyb_time_mix_recur_back(f, layer, w);
    hyb_time_mix_products_back(f, layer, w);
    hyb_normed(f, f->s->h, f->s->x, w->norm, w->norm_b);
    shift.x = f->s->h;
    shift.mix = hyb_vector(f, w->shift);
    shift.n_mix = f->hp->n_gate ? 6 : 5;
    shift.n_embd = e;
    shift.dout = f->back->dmix;
    shift.plane = f->n * e;
    shift.dx = f->back->dh;
    shift.dmix = hyb_grad(f, w->shift);
    hyb_do_shift_back(f->at->be, &shift);
    hyb_part_norm_back(f, w->norm, w->norm_b);
}
#endif

static const hyb_part hyb_part_time_mix = {
    "time mixing",
    sizeof(hyb_time_mix_w),
    false, /* keeps_pages */
    false, /* looks_back */
    hyb_time_mix_find,
    hyb_time_mix_needs,
    hyb_time_mix_slot, /* slot */
    hyb_time_mix_forward,
    HYB_BACKWARD(hyb_time_mix_backward),
};
#endif
