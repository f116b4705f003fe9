/* model/parts/attention: causal attention over the keys and values of a sequence's pages (Vaswani et al. 2017), with
 * grouped heads, rotations, norms of heads, windows and soft-caps. */
#ifndef HYB_MODEL_PARTS_ATTENTION_C
#define HYB_MODEL_PARTS_ATTENTION_C
#include "../pass.c"

typedef struct hyb_attention_w {
    hyb_weight norm, norm_b;
    hyb_weight qkv, qkv_b; /* fused, or */
    hyb_weight q, k, v, q_b, k_b, v_b;
    hyb_weight q_norm, k_norm; /* of each head */
    hyb_weight out, out_b, post_norm;
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
    w->norm = hyb_layer_vector(wl, true, e, "attn_norm.weight");
    if (hp->arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "attn_norm.bias");
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
}

/* h -> q, k, v side by side in mix, normed, rotated, k and v stored */
static void hyb_attention_qkv(hyb_forward *f, int layer, const hyb_attention_w *w)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer_hp *l = &hp->layers[layer];
    const int64_t stride = hyb_width_qkv(hp, l), width_q = hyb_width_q(hp, l), width_k = hyb_width_k(hp, l);
    float *q = f->at->a.mix, *k = q + width_q, *v = k + width_k;
    float *q_rotated = f->at->a.mix_out, *k_rotated = q_rotated + width_q;
    hyb_op_matmul mm;
    hyb_op_heads heads;
    hyb_matmul_begin(f, &mm, f->s->h, hp->n_embd);
    if (w->qkv)
        hyb_matmul_out_set(f, &mm, w->qkv, w->qkv_b, NULL, q, stride);
    else {
        hyb_matmul_out_set(f, &mm, w->q, w->q_b, NULL, q, stride);
        hyb_matmul_out_set(f, &mm, w->k, w->k_b, NULL, k, stride);
        hyb_matmul_out_set(f, &mm, w->v, w->v_b, NULL, v, stride);
    }
    hyb_do_matmul(f->at->be, &mm);
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
    op.window = l->window;
    hyb_do_attention(f->at->be, &op);
    hyb_traced(f, "attn", layer, op.out, f->n, op.out_stride, op.out_stride);
}

static void hyb_attention_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_attention_w *w = (const hyb_attention_w *)part;
    const int64_t width = hyb_width_heads(f->hp, &f->hp->layers[layer]);
    const float *heads;
    hyb_part_norm(f, "attn_norm", layer, w->norm, w->norm_b);
    hyb_attention_qkv(f, layer, w);
    if (hyb_ends_here(f, c, layer, true)) return;
    hyb_attention_attend(f, layer);
    heads = hyb_narrowed(f, c, layer, true, f->at->a.mixed, width);
    hyb_part_out(f, "attn_out", layer, heads, width, w->out, w->out_b, w->post_norm);
}

static const hyb_part hyb_part_attention = {
    "attention",
    sizeof(hyb_attention_w),
    true,  /* keeps_pages */
    false, /* looks_back */
    hyb_attention_find,
    hyb_attention_needs,
    NULL, /* slot */
    hyb_attention_forward,
};
#endif
