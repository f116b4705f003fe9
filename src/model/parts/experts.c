/* model/parts/experts: a mixture of experts (Shazeer et al. 2017): a router chooses a few feed-forwards for each token;
 * and, in some families, one more that works on every token. */
#ifndef HYB_MODEL_PARTS_EXPERTS_C
#define HYB_MODEL_PARTS_EXPERTS_C
#include "experts_adapter.c"
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

/* Floats a row that the way back through the experts works in. */
static int64_t hyb_experts_work(const hyb_hparams *hp)
{
#ifndef HYBRID_NO_TRAIN
    const int64_t up = hyb_experts_back_work(hp->n_expert_used, hp->n_expert, hp->n_embd, 2 * (int64_t)hp->n_ff_expert);
    const int64_t down = hyb_experts_back_work(hp->n_expert_used, hp->n_expert, hp->n_ff_expert, hp->n_embd);
    return HYB_MAX(up, down);
#else
    HYB_UNUSED(hp);
    return 0;
#endif
}

static void hyb_experts_needs(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs)
{
    HYB_UNUSED(l);
    hyb_need(&needs->ffn, 2 * HYB_MAX((int64_t)hp->n_expert_used * hp->n_ff_expert, (int64_t)hp->n_ff_shared));
    hyb_need(&needs->router, hp->n_expert);
    hyb_need(&needs->used, hp->n_expert_used);
    hyb_need(&needs->out, (int64_t)hp->n_expert_used * hp->n_embd);
    hyb_need(&needs->act, HYB_MAX((int64_t)hp->n_expert_used * hp->n_ff_expert, (int64_t)hp->n_ff_shared));
    if (hp->arch->mixture == HYB_MIXTURE_SHARES) hyb_need(&needs->shared, 2 * (int64_t)hp->n_ff_shared);
    hyb_need(&needs->work, hyb_experts_work(hp));
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

/* x_out (n, E) = add + the sum of weight * expert_out (n * n_used, E) */
static void hyb_experts_combine(hyb_forward *f, int n_used, const float *add)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_combine op;
    op.x = a->expert_out;
    op.weights = a->expert_weights;
    op.n = f->n;
    op.n_used = n_used;
    op.n_embd = f->hp->n_embd;
    op.add = add;
    op.out = f->s->x_out;
    hyb_do_combine(f->at->be, &op);
}

/* How the experts of a layer are chosen and weighted. */
static void hyb_experts_route_begin(const hyb_hparams *hp, hyb_op_route *op)
{
    op->kind = HYB_ROUTE_SOFTMAX;
    op->n_expert = hp->n_expert;
    op->n_used = hp->n_expert_used;
    op->norm = hp->expert_norm;
    op->scale = hp->expert_scale;
}
/* And how the one that sees every token is weighted. */
static void hyb_experts_route_shared(hyb_op_route *op)
{
    op->kind = HYB_ROUTE_SIGMOID;
    op->n_expert = op->n_used = 1;
    op->norm = false;
    op->scale = 1;
}

/* Where the chosen experts' ups are: all of them behind all gates, (n * n_used, F) each. */
static float *hyb_experts_ups(const hyb_forward *f)
{
    return f->at->a.ffn + (int64_t)f->n * f->hp->n_expert_used * f->hp->n_ff_expert;
}

/* ffn -> act (n * n_used, F): act(gate) * up of the chosen experts. */
static void hyb_experts_act(hyb_forward *f)
{
    const int64_t n_ff = f->hp->n_ff_expert;
    hyb_activate(f, f->hp->arch->act, f->at->a.ffn, hyb_experts_ups(f), f->at->a.act, n_ff,
                 (int64_t)f->n * f->hp->n_expert_used, n_ff);
}

/* x_out (n, E) = x + the chosen experts' feed-forward of h (n, E), weighted */
static void hyb_experts_chosen(hyb_forward *f, int layer, const hyb_experts_w *w)
{
    const hyb_hparams *hp = f->hp;
    const hyb_activations *a = &f->at->a;
    const int64_t n_ff = hp->n_ff_expert, rows = (int64_t)f->n * hp->n_expert_used;
    hyb_op_route route;
    hyb_op_experts op;
    hyb_experts_route_begin(hp, &route);
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
    op.out[0].y_stride = n_ff;
    op.out[1].w = hyb_tensor_of(f, w->up);
    op.out[1].y = hyb_experts_ups(f);
    op.out[1].y_stride = n_ff;
    hyb_experts_products(f, &op);
    if (!f->s->x_out) return; /* it is known already: what is kept is there */
    hyb_experts_act(f);
    hyb_traced(f, "ffn_act", layer, a->act, rows, n_ff, n_ff);
    op.x = a->act;
    op.x_stride = n_ff;
    op.each_own = true;
    op.n_out = 1;
    op.out[0].w = hyb_tensor_of(f, w->down);
    op.out[0].y = a->expert_out;
    op.out[0].y_stride = hp->n_embd;
    hyb_experts_products(f, &op);
    hyb_experts_combine(f, hp->n_expert_used, f->s->x);
}

/* x_out (n, E) += sigmoid(h . w) * the feed-forward of h (n, E) that works on every token */
static void hyb_experts_shared(hyb_forward *f, int layer, const hyb_experts_w *w)
{
    const hyb_hparams *hp = f->hp;
    hyb_activations *a = &f->at->a;
    const int64_t n_ff = hp->n_ff_shared;
    float *ffn = a->ffn;
    int64_t stride;
    hyb_op_route route;
    hyb_experts_route_shared(&route);
    hyb_experts_route(f, w->shared_router, &route);
    a->ffn = a->shared;
    stride = hyb_ffn_hidden(f, f->s->h, n_ff, w->shared_gate, 0, w->shared_up, 0);
    a->ffn = ffn;
    if (!f->s->x_out) return;
    hyb_traced(f, "shared_act", layer, a->act, f->n, n_ff, stride);
    hyb_product(f, a->act, stride, w->shared_down, 0, a->expert_out, hp->n_embd);
    hyb_experts_combine(f, 1, f->s->x_out);
}

static void hyb_experts_forward(hyb_forward *f, const hyb_batch *c, int layer, const void *part)
{
    const hyb_experts_w *w = (const hyb_experts_w *)part;
    HYB_UNUSED(c);
    hyb_part_norm(f, "ffn_norm", layer, w->norm, w->norm_b);
    hyb_experts_chosen(f, layer, w);
    if (w->shared_router) hyb_experts_shared(f, layer, w);
}

#ifndef HYBRID_NO_TRAIN
/* ---- the way back ----
 *
 * Of x_out = x + the sum over the choices of weight * (act . down^T): with act' = weight * act, down's gradient is dx^T
 * act'; and d = dx . down is that of act', so that of the weight is d . act, and that of act is weight * d. What the
 * experts made need not be kept for that. The choice and its weights are made again. */

/* dact (rows, n) becomes weight * dact; dused = dact . act, before that. */
static void hyb_experts_weigh_back(hyb_forward *f, int64_t rows, int64_t n)
{
    hyb_op_weigh op;
    op.x = op.out = f->back->dact;
    op.y = f->at->a.act;
    op.x_stride = op.y_stride = op.out_stride = op.n = n;
    op.weights = f->at->a.expert_weights;
    op.n_rows = rows;
    op.dots = f->back->dused;
    hyb_do_weigh(f->at->be, &op);
}
/* act (rows, n) becomes weight * act. */
static void hyb_experts_weigh(hyb_forward *f, int64_t rows, int64_t n)
{
    hyb_op_weigh op;
    memset(&op, 0, sizeof op);
    op.x = op.out = f->at->a.act;
    op.x_stride = op.out_stride = op.n = n;
    op.weights = f->at->a.expert_weights;
    op.n_rows = rows;
    hyb_do_weigh(f->at->be, &op);
}

/* dact (rows, n) -> the gradients of gate and up (rows, n), in their places, of this stride. */
static void hyb_experts_glu_back(hyb_forward *f, float *gate, float *up, int64_t stride, int64_t rows, int64_t n)
{
    hyb_op_glu_back glu;
    glu.act = f->hp->arch->act;
    glu.gate = glu.dgate = gate;
    glu.up = glu.dup = up;
    glu.stride = stride;
    glu.dout = f->back->dact;
    glu.dout_stride = n;
    glu.n_rows = rows;
    glu.n = n;
    hyb_do_glu_back(f->at->be, &glu);
}

/* dused -> the gradients of the scores. */
static void hyb_experts_route_back(hyb_forward *f, const hyb_op_route *route, float *dlogits)
{
    hyb_op_route_back op;
    op.kind = route->kind;
    op.logits = route->logits;
    op.n = route->n;
    op.n_expert = route->n_expert;
    op.n_used = route->n_used;
    op.norm = route->norm;
    op.scale = route->scale;
    op.ids = route->ids;
    op.dweights = f->back->dused;
    op.dlogits = dlogits;
    hyb_do_route_back(f->at->be, &op);
}

/* Of hyb_experts_shared: the gradients of its gate and up stand in their places, that of its score in dshared. */
static void hyb_experts_shared_back(hyb_forward *f, const hyb_experts_w *w)
{
    hyb_activations *a = &f->at->a;
    const int64_t n_ff = f->hp->n_ff_shared;
    float *ffn = a->ffn;
    hyb_op_route route;
    hyb_experts_route_shared(&route);
    hyb_experts_route(f, w->shared_router, &route);
    a->ffn = a->shared;
    hyb_ffn_act(f, n_ff, false);
    hyb_experts_weigh(f, f->n, n_ff);
    hyb_part_out_back(f, a->act, f->back->dact, n_ff, w->shared_down, 0, 0);
    hyb_ffn_act(f, n_ff, false);
    a->ffn = ffn;
    hyb_experts_weigh_back(f, f->n, n_ff);
    hyb_experts_glu_back(f, a->shared, a->shared + n_ff, 2 * n_ff, f->n, n_ff);
    hyb_experts_route_back(f, &route, f->back->dshared);
}

static void hyb_experts_back_begin(hyb_forward *f, hyb_op_experts_back *op)
{
    memset(op, 0, sizeof *op);
    op->ids = f->at->a.expert_ids;
    op->n = f->n;
    op->n_used = f->hp->n_expert_used;
    op->work = f->back->work;
}

/* Of hyb_experts_chosen: the gradients of the experts' gates and ups stand in their places, those of scores in
 * drouter. */
static void hyb_experts_chosen_back(hyb_forward *f, const hyb_experts_w *w)
{
    const hyb_hparams *hp = f->hp;
    const hyb_activations *a = &f->at->a;
    const int64_t n_ff = hp->n_ff_expert, rows = (int64_t)f->n * hp->n_expert_used;
    hyb_op_route route;
    hyb_op_experts_back op;
    hyb_experts_route_begin(hp, &route);
    hyb_experts_route(f, w->router, &route);
    hyb_experts_act(f);
    hyb_experts_weigh(f, rows, n_ff);
    hyb_experts_back_begin(f, &op);
    op.x = a->act;
    op.x_stride = n_ff;
    op.x_each = op.dx_each = true;
    op.n_out = 1;
    op.out[0].w = hyb_tensor_of(f, w->down);
    op.out[0].dy = f->back->dx;
    op.out[0].dy_stride = hp->n_embd;
    op.out[0].dw = hyb_grad(f, w->down);
    op.dx = f->back->dact;
    hyb_experts_products_back(f, &op);
    hyb_experts_act(f);
    hyb_experts_weigh_back(f, rows, n_ff);
    hyb_experts_glu_back(f, a->ffn, hyb_experts_ups(f), n_ff, rows, n_ff);
    hyb_experts_route_back(f, &route, f->back->drouter);
}

/* dh += what the chosen experts' gates and ups make of it. */
static void hyb_experts_up_back(hyb_forward *f, const hyb_experts_w *w)
{
    const int64_t e = f->hp->n_embd, n_ff = f->hp->n_ff_expert;
    hyb_op_experts_back op;
    hyb_experts_back_begin(f, &op);
    op.x = f->s->h;
    op.x_stride = e;
    op.dy_each = true;
    op.n_out = 2;
    op.out[0].w = hyb_tensor_of(f, w->gate);
    op.out[0].dy = f->at->a.ffn;
    op.out[0].dw = hyb_grad(f, w->gate);
    op.out[1].w = hyb_tensor_of(f, w->up);
    op.out[1].dy = hyb_experts_ups(f);
    op.out[1].dw = hyb_grad(f, w->up);
    op.out[0].dy_stride = op.out[1].dy_stride = n_ff;
    op.add = op.dx = f->back->dh;
    hyb_experts_products_back(f, &op);
}

static void hyb_experts_backward(hyb_forward *f, int layer, const void *part)
{
    const hyb_experts_w *w = (const hyb_experts_w *)part;
    const hyb_hparams *hp = f->hp;
    const int64_t n_ff = hp->n_ff_shared;
    float *shared = f->at->a.shared;
    hyb_back_products products;
    HYB_UNUSED(layer);
    hyb_normed(f, f->s->h, f->s->x, w->norm, w->norm_b);
    if (w->shared_router) hyb_experts_shared_back(f, w);
    hyb_experts_chosen_back(f, w); /* last: its choice stays */
    hyb_back_products_begin(&products, f, f->s->h, hp->n_embd);
    hyb_back_products_add(&products, w->router, 0, f->back->drouter, hp->n_expert);
    if (w->shared_router) {
        hyb_back_products_add(&products, w->shared_router, 0, f->back->dshared, 1);
        hyb_back_products_add(&products, w->shared_gate, 0, shared, 2 * n_ff);
        hyb_back_products_add(&products, w->shared_up, 0, shared + n_ff, 2 * n_ff);
    }
    hyb_back_products_do(&products, f->back->dh, hp->n_embd);
    hyb_experts_up_back(f, w);
    hyb_part_norm_back(f, w->norm, w->norm_b);
}
#endif

static const hyb_part hyb_part_experts = {
    "experts",
    sizeof(hyb_experts_w),
    false, /* keeps_pages */
    false, /* looks_back */
    hyb_experts_find,
    hyb_experts_needs,
    NULL, /* slot */
    hyb_experts_forward,
    HYB_BACKWARD(hyb_experts_backward),
};
#endif
