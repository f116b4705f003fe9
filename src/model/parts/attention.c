/* model/parts/attention: attention over the keys and values of a sequence's pages (Vaswani et al. 2017), with
 * grouped heads, rotations, norms of heads, windows and soft-caps; causal, but in encoders. */
#ifndef HYB_MODEL_PARTS_ATTENTION_C
#define HYB_MODEL_PARTS_ATTENTION_C
#include "../back.c"

typedef struct hyb_attention_w {
    hyb_weight norm, norm_b;
    hyb_weight qkv, qkv_b; /* fused, or */
    hyb_weight q, k, v, q_b, k_b, v_b;
    hyb_weight q_norm, k_norm; /* of each head */
    hyb_weight out, out_b, post_norm;
    hyb_weight sum_norm, sum_norm_b; /* instead of norm */
} hyb_attention_w;

static int64_t hyb_width_q(const hyb_hparams *hp, const hyb_layer_hp *l) { return (int64_t)l->n_head * hp->head_dim_k; }
static int64_t hyb_width_k(const hyb_hparams *hp, const hyb_layer_hp *l)
{
    return (int64_t)l->n_head_kv * hp->head_dim_k;
}
static int64_t hyb_width_v(const hyb_hparams *hp, const hyb_layer_hp *l)
{
    return (int64_t)l->n_head_kv * hp->head_dim_v;
}
static int64_t hyb_width_qkv(const hyb_hparams *hp, const hyb_layer_hp *l)
{
    return hyb_width_q(hp, l) + hyb_width_k(hp, l) + hyb_width_v(hp, l);
}
static int64_t hyb_width_heads(const hyb_hparams *hp, const hyb_layer_hp *l)
{
    return (int64_t)l->n_head * hp->head_dim_v;
}

static void hyb_attention_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_attention_w *w = (hyb_attention_w *)part;
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, q = hyb_width_q(hp, l), k = hyb_width_k(hp, l), v = hyb_width_v(hp, l);
    if (hp->arch->has & HYB_HAS_SUM_NORM) {
        w->sum_norm = hyb_layer_vector(wl, true, e, "attn_output_norm.weight");
        w->sum_norm_b = hyb_layer_vector(wl, true, e, "attn_output_norm.bias");
    } else {
        w->norm = hyb_layer_vector(wl, true, e, "attn_norm.weight");
        if (hp->arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "attn_norm.bias");
    }
    if (hyb_layer_has(wl, "attn_qkv.weight")) {
        w->qkv = hyb_layer_matrix(wl, true, e, q + k + v, "attn_qkv.weight");
        w->qkv_b = hyb_layer_vector(wl, false, q + k + v, "attn_qkv.bias");
    } else {
        w->q = hyb_layer_matrix(wl, true, e, q, "attn_q.weight");
        w->k = hyb_layer_matrix(wl, true, e, k, "attn_k.weight");
        w->v = hyb_layer_matrix(wl, true, e, v, "attn_v.weight");
        w->q_b = hyb_layer_vector(wl, false, q, "attn_q.bias");
        w->k_b = hyb_layer_vector(wl, false, k, "attn_k.bias");
        w->v_b = hyb_layer_vector(wl, false, v, "attn_v.bias");
    }
    if (hp->arch->has & HYB_HAS_QK_NORM) {
        w->q_norm = hyb_layer_vector(wl, true, hp->head_dim_k, "attn_q_norm.weight");
        w->k_norm = hyb_layer_vector(wl, true, hp->head_dim_k, "attn_k_norm.weight");
    }
    w->out = hyb_layer_matrix(wl, true, hyb_width_heads(hp, l), e, "attn_output.weight");
    w->out_b = hyb_layer_vector(wl, false, e, "attn_output.bias");
    if (hp->arch->has & HYB_HAS_POST_NORM) w->post_norm = hyb_layer_vector(wl, true, e, "post_attention_norm.weight");
}

static void hyb_attention_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    hyb_need(&needs->mix, hyb_width_qkv(hp, l));
    hyb_need(&needs->mixed, hyb_width_heads(hp, l));
    if (hp->arch->has & HYB_HAS_QK_NORM) hyb_need(&needs->mix_both, hyb_width_qkv(hp, l));
    if (hp->arch->has & HYB_HAS_POST_NORM) hyb_need(&needs->block, hp->n_embd);
}

/* h (n, E) -> q, k, v side by side in mix, normed, rotated, k and v stored */
static void hyb_attention_qkv(hyb_forward *f, int layer, const hyb_attention_w *w, const float *h)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer_hp *l = &hp->layers[layer];
    const int64_t stride = hyb_width_qkv(hp, l), width_q = hyb_width_q(hp, l), width_k = hyb_width_k(hp, l);
    float *q = f->at->a.mix, *k = q + width_q, *v = k + width_k;
    float *q_rotated = f->at->a.mix_out, *k_rotated = q_rotated + width_q;
    hyb_op_matmul mm;
    hyb_op_heads heads;
    hyb_matmul_begin(f, &mm, h, hp->n_embd);
    if (w->qkv)
        hyb_matmul_out_set(f, &mm, w->qkv, w->qkv_b, NULL, q, stride);
    else {
        hyb_matmul_out_set(f, &mm, w->q, w->q_b, NULL, q, stride);
        hyb_matmul_out_set(f, &mm, w->k, w->k_b, NULL, k, stride);
        hyb_matmul_out_set(f, &mm, w->v, w->v_b, NULL, v, stride);
    }
    hyb_products(f, &mm);
    hyb_traced(f, "q", layer, q, f->n, width_q, stride);
    hyb_traced(f, "k", layer, k, f->n, width_k, stride);
    hyb_traced(f, "v", layer, v, f->n, hyb_width_v(hp, l), stride);
    heads.kv = &f->state[layer].kv;
    heads.q = q;
    heads.k = k;
    heads.v = v;
    heads.stride = stride;
    heads.q_out = q_rotated;
    heads.k_out = k_rotated;
    heads.out_stride = stride;
    heads.n = f->n;
    heads.n_head = l->n_head;
    heads.q_norm = hyb_vector(f, w->q_norm);
    heads.k_norm = hyb_vector(f, w->k_norm);
    heads.norm = hp->arch->norm;
    heads.eps = hp->norm_eps;
    heads.rope = hp->arch->rope;
    heads.n_rot = hp->n_rot;
    heads.table = l->rope_local ? f->at->a.rope_local : f->at->a.rope;
    hyb_do_heads(f->at->be, &heads);
    hyb_traced(f, "q_rope", layer, q_rotated, f->n, width_q, stride);
    hyb_traced(f, "k_rope", layer, k_rotated, f->n, width_k, stride);
}

static void hyb_attention_attend(hyb_forward *f, int layer)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer_hp *l = &hp->layers[layer];
    hyb_op_attention op;
    memset(&op, 0, sizeof op);
    op.kv = &f->state[layer].kv;
    op.q = f->at->a.mix_out;
    op.q_stride = hyb_width_qkv(hp, l);
    op.out = f->at->a.mixed;
    op.out_stride = hyb_width_heads(hp, l);
    op.n_head = l->n_head;
    op.scale = hp->attn_scale;
    op.softcap = hp->attn_softcap;
    op.window = hp->arch->has & HYB_HAS_BOTH_WAYS ? HYB_BOTH_WAYS : l->window;
    hyb_do_attention(f->at->be, &op);
    hyb_traced(f, "attn", layer, op.out, f->n, op.out_stride, op.out_stride);
}

static void hyb_attention_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_attention_w *w = (const hyb_attention_w *)part;
    const int64_t width = hyb_width_heads(f->hp, &f->hp->layers[layer]);
    const float *heads, *h = hyb_part_norm(f, "attn_norm", layer, w->norm, w->norm_b);
    hyb_attention_qkv(f, layer, w, h);
    if (hyb_ends_here(f, c, layer, true)) return;
    hyb_attention_attend(f, layer);
    heads = hyb_narrowed(f, c, layer, true, f->at->a.mixed, width);
    hyb_part_out(f, "attn_out", layer, heads, width, w->out, w->out_b, w->post_norm);
    hyb_part_sum_norm(f, w->sum_norm, w->sum_norm_b);
}

#ifndef HYBRID_NO_TRAIN
/* The gradient of one of q and k, n_head heads from `at` on, is turned back, and goes back through the norm of heads.
 */
static void hyb_attention_heads_back(hyb_forward *f, int layer, int n_head, int64_t at, hyb_weight norm)
{
    const hyb_hparams *hp = f->hp;
    const hyb_back *back = f->back;
    const int64_t stride = hyb_width_qkv(hp, &hp->layers[layer]);
    hyb_op_rope rope;
    hyb_op_norm_back op;
    rope.kind = hp->arch->rope;
    rope.table = hp->layers[layer].rope_local ? back->rope_local : back->rope;
    rope.n_rot = hp->n_rot;
    rope.x = rope.out = back->dmix + at;
    rope.x_stride = rope.out_stride = stride;
    rope.n = f->n;
    rope.n_head = n_head;
    rope.head_dim = hp->head_dim_k;
    if (hp->n_rot) hyb_do_rope(f->at->be, &rope);
    if (!norm) return;
    op.kind = hp->arch->norm;
    op.eps = hp->norm_eps;
    op.w = hyb_vector(f, norm);
    op.x = f->at->a.mix + at;
    op.dy = back->dmix + at;
    op.add = NULL;
    op.dx = back->dmix_in + at;
    op.dw = hyb_grad(f, norm);
    op.db = NULL;
    op.x_stride = op.dy_stride = op.dx_stride = stride;
    op.n_rows = f->n;
    op.n_group = n_head;
    op.n = hp->head_dim_k;
    op.stats = back->stats;
    hyb_do_norm_back(f->at->be, &op);
}

/* dmixed -> the gradients of q, k and v as they came from the products: side by side, at what is returned */
static const float *hyb_attention_attend_back(hyb_forward *f, int layer, const hyb_attention_w *w)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer_hp *l = &hp->layers[layer];
    const hyb_back *back = f->back;
    const int64_t width_q = hyb_width_q(hp, l), width_k = hyb_width_k(hp, l);
    float *d = w->q_norm ? back->dmix_in : back->dmix;
    hyb_op_attention_back op;
    memset(&op, 0, sizeof op);
    op.kv = &f->state[layer].kv;
    op.q = f->at->a.mix_out;
    op.q_stride = op.stride = hyb_width_qkv(hp, l);
    op.out = f->at->a.mixed;
    op.dout = back->dmixed;
    op.out_stride = hyb_width_heads(hp, l);
    op.n_head = l->n_head;
    op.scale = hp->attn_scale;
    op.softcap = hp->attn_softcap;
    op.window = l->window;
    op.dq = back->dmix;
    op.dk = op.dq + width_q;
    op.dv = d + width_q + width_k; /* to which nothing happens between */
    hyb_do_attention_back(f->at->be, &op);
    hyb_attention_heads_back(f, layer, l->n_head, 0, w->q_norm);
    hyb_attention_heads_back(f, layer, l->n_head_kv, width_q, w->k_norm);
    return d;
}

static void hyb_attention_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_attention_w *w = (const hyb_attention_w *)part;
    const hyb_hparams *hp = f->hp;
    const hyb_layer_hp *l = &hp->layers[layer];
    const int64_t stride = hyb_width_qkv(hp, l), width_q = hyb_width_q(hp, l), width_k = hyb_width_k(hp, l);
    const float *d;
    hyb_back_products products;
    hyb_part_out_back(f, f->at->a.mixed, f->back->dmixed, hyb_width_heads(hp, l), w->out, w->out_b, w->post_norm);
    d = hyb_attention_attend_back(f, layer, w);
    hyb_normed(f, f->s->h, f->s->x, w->norm, w->norm_b);
    hyb_back_products_begin(&products, f, f->s->h, hp->n_embd);
    if (w->qkv)
        hyb_back_products_add(&products, w->qkv, w->qkv_b, d, stride);
    else {
        hyb_back_products_add(&products, w->q, w->q_b, d, stride);
        hyb_back_products_add(&products, w->k, w->k_b, d + width_q, stride);
        hyb_back_products_add(&products, w->v, w->v_b, d + width_q + width_k, stride);
    }
    hyb_back_products_do(&products, f->back->dh, hp->n_embd);
    hyb_part_norm_back(f, w->norm, w->norm_b);
}
#endif

static const hyb_part hyb_part_attention = {
    "attention",
    sizeof(hyb_attention_w),
    true,  /* keeps_pages */
    false, /* looks_back */
    hyb_attention_find,
    hyb_attention_needs,
    NULL, /* slot */
    hyb_attention_forward,
    HYB_BACKWARD(hyb_attention_backward),
};
#endif
