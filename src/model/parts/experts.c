/* model/parts/experts: a mixture of experts (Shazeer et al. 2017): a router chooses a few feed-forwards for each token;
 * and, in some families, one more that works on every token. */
#ifndef HYB_MODEL_PARTS_EXPERTS_C
#define HYB_MODEL_PARTS_EXPERTS_C
#include "ffn.c"

typedef struct hyb_experts_w {
    hyb_weight norm, norm_b;
    hyb_weight router;
    hyb_weight gate, up, down; /* of all experts, one after the other */
    hyb_weight shared_router, shared_gate, shared_up, shared_down;
} hyb_experts_w;

static void hyb_experts_find(hyb_loader *wl, const hyb_layer_hp *l, void *part)
{
    hyb_experts_w *w = (hyb_experts_w *)part;
    const hyb_hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, f = hp->n_ff_expert, s = hp->n_ff_shared, n = hp->n_expert;
    HYB_UNUSED(l);
    w->norm = hyb_layer_vector(wl, true, e, "ffn_norm.weight");
    if (hp->arch->norm == HYB_NORM_LAYER) w->norm_b = hyb_layer_vector(wl, true, e, "ffn_norm.bias");
    if (wl->failure.result) return;
    if (!hp->n_expert) {
        hyb_keep(&wl->failure, HYBRID_ERROR_FORMAT,
                 "layer %d has a tensor 'ffn_gate_inp.weight', which chooses experts, but the model's key "
                 "'%s.expert_count' is missing or 0",
                 wl->layer, hp->arch->name);
        return;
    }
    if (hyb_layer_has(wl, "ffn_down.0.weight")) {
        hyb_keep(&wl->failure, HYBRID_ERROR_UNSUPPORTED,
                 "layer %d has a tensor for each expert ('ffn_down.0.weight'), as files had until April "
                 "2024; convert the model again, or get a newer file of it",
                 wl->layer);
        return;
    }
    w->router = hyb_layer_matrix(wl, true, e, n, "ffn_gate_inp.weight");
    w->gate = hyb_layer_matrices(wl, e, f, n, "ffn_gate_exps.weight");
    w->up = hyb_layer_matrices(wl, e, f, n, "ffn_up_exps.weight");
    w->down = hyb_layer_matrices(wl, f, e, n, "ffn_down_exps.weight");
    if (hp->arch->mixture != HYB_MIXTURE_SHARES) return;
    w->shared_router = hyb_layer_matrix(wl, true, e, 1, "ffn_gate_inp_shexp.weight");
    w->shared_gate = hyb_layer_matrix(wl, true, e, s, "ffn_gate_shexp.weight");
    w->shared_up = hyb_layer_matrix(wl, true, e, s, "ffn_up_shexp.weight");
    w->shared_down = hyb_layer_matrix(wl, true, s, e, "ffn_down_shexp.weight");
}

static void hyb_experts_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    HYB_UNUSED(l);
    hyb_need(&needs->ffn, 2 * HYB_MAX((int64_t)hp->n_expert_used * hp->n_ff_expert, (int64_t)hp->n_ff_shared));
    hyb_need(&needs->router, hp->n_expert);
    hyb_need(&needs->used, hp->n_expert_used);
    hyb_need(&needs->out, (int64_t)hp->n_expert_used * hp->n_embd);
}

/* router (n, n_expert) = h . W^T, and the choice: n_used of n_expert */
static void hyb_experts_route(hyb_forward *f, hyb_weight w, hyb_op_route *op)
{
    const hyb_activations *a = &f->at->a;
    hyb_product(f, f->s->h, f->hp->n_embd, w, 0, a->router, op->n_expert);
    op->logits = a->router;
    op->n = f->n;
    op->ids = a->expert_ids;
    op->weights = a->expert_weights;
    hyb_do_route(f->at->be, op);
}

/* x (n, E) += sum of weight * expert_out (n * n_used, E) */
static void hyb_experts_combine(hyb_forward *f, int n_used)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_combine op;
    op.x = a->expert_out;
    op.weights = a->expert_weights;
    op.n = f->n;
    op.n_used = n_used;
    op.n_embd = f->hp->n_embd;
    op.add = f->s->x;
    op.out = f->s->x_out;
    hyb_do_combine(f->at->be, &op);
}

/* x (n, E) += the chosen experts' feed-forward of h (n, E), weighted */
static void hyb_experts_chosen(hyb_forward *f, int layer, const hyb_experts_w *w)
{
    const hyb_hparams *hp = f->hp;
    const hyb_activations *a = &f->at->a;
    const int64_t n_ff = hp->n_ff_expert, rows = (int64_t)f->n * hp->n_expert_used;
    hyb_op_route route;
    hyb_op_experts op;
    route.kind = HYB_ROUTE_SOFTMAX;
    route.n_expert = hp->n_expert;
    route.n_used = hp->n_expert_used;
    route.norm = hp->expert_norm;
    route.scale = hp->expert_scale;
    hyb_experts_route(f, w->router, &route);
    hyb_traced(f, "router", layer, a->router, f->n, hp->n_expert, hp->n_expert);
    hyb_traced(f, "expert_weights", layer, a->expert_weights, f->n, hp->n_expert_used, hp->n_expert_used);
    memset(&op, 0, sizeof op);
    op.rows = f->s->rows;
    op.x = f->s->h;
    op.x_stride = hp->n_embd;
    op.ids = a->expert_ids;
    op.n = f->n;
    op.n_used = hp->n_expert_used;
    op.n_out = 2;
    op.out[0].w = hyb_tensor_of(f, w->gate);
    op.out[0].y = a->ffn;
    op.out[0].y_stride = 2 * n_ff;
    op.out[1].w = hyb_tensor_of(f, w->up);
    op.out[1].y = a->ffn + n_ff;
    op.out[1].y_stride = 2 * n_ff;
    hyb_do_experts(f->at->be, &op);
    hyb_activate(f, hp->arch->act, a->ffn, a->ffn + n_ff, a->act, 2 * n_ff, rows, n_ff);
    hyb_traced(f, "ffn_act", layer, a->act, rows, n_ff, 2 * n_ff);
    op.x = a->act;
    op.x_stride = 2 * n_ff;
    op.each_own = true;
    op.n_out = 1;
    op.out[0].w = hyb_tensor_of(f, w->down);
    op.out[0].y = a->expert_out;
    op.out[0].y_stride = hp->n_embd;
    hyb_do_experts(f->at->be, &op);
    hyb_experts_combine(f, hp->n_expert_used);
}

/* x (n, E) += sigmoid(h . w) * the feed-forward of h (n, E) that works on every token */
static void hyb_experts_shared(hyb_forward *f, int layer, const hyb_experts_w *w)
{
    const hyb_hparams *hp = f->hp;
    const int64_t n_ff = hp->n_ff_shared;
    int64_t stride;
    hyb_op_route route;
    route.kind = HYB_ROUTE_SIGMOID;
    route.n_expert = route.n_used = 1;
    route.norm = false;
    route.scale = 1;
    hyb_experts_route(f, w->shared_router, &route);
    stride = hyb_ffn_hidden(f, n_ff, w->shared_gate, 0, w->shared_up, 0);
    hyb_traced(f, "shared_act", layer, f->at->a.act, f->n, n_ff, stride);
    hyb_product(f, f->at->a.act, stride, w->shared_down, 0, f->at->a.expert_out, hp->n_embd);
    hyb_experts_combine(f, 1);
}

static void hyb_experts_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_experts_w *w = (const hyb_experts_w *)part;
    HYB_UNUSED(c);
    hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    hyb_experts_chosen(f, layer, w);
    if (w->shared_router) hyb_experts_shared(f, layer, w);
}

static const hyb_part hyb_part_experts = {
    "experts",
    sizeof(hyb_experts_w),
    false, /* keeps_pages */
    false, /* looks_back */
    true,  /* host_trains */
    hyb_experts_find,
    hyb_experts_needs,
    NULL, /* slot */
    hyb_experts_forward,
    NULL, /* backward */
};
#endif
