/* model/back: the steps of a backward pass that several parts take. Each goes back over a step of a forward pass, which
 * stands in model/pass.c. */
#ifndef HYB_MODEL_BACK_C
#define HYB_MODEL_BACK_C
#include "pass.c"

#ifndef HYBRID_NO_TRAIN

/* Where the gradient of a tensor is added up; NULL: it is not wanted: there is no such tensor, or the model's own
 * weights are frozen. A tied head has that of the embedding. */
static float *hyb_grad(const hyb_forward *f, hyb_weight w)
{
    const float *data = (const float *)f->tensors[w].data;
    return data && f->back->weights ? f->back->grads + (data - f->back->weights) : NULL;
}

/* dx (n, E) = add + the gradient of x (n, E), of hyb_normed */
static void hyb_normed_back(hyb_forward *f, float *dx, const float *add, const float *x, const float *dy, hyb_weight w,
                            hyb_weight b)
{
    hyb_op_norm_back op;
    op.kind = f->hp->arch->norm;
    op.eps = f->hp->norm_eps;
    op.w = hyb_vector(f, w);
    op.x = x;
    op.dy = dy;
    op.add = add;
    op.dx = dx;
    op.dw = hyb_grad(f, w);
    op.db = hyb_grad(f, b);
    op.x_stride = op.dy_stride = op.dx_stride = op.n = f->hp->n_embd;
    op.n_rows = f->n;
    op.n_group = 1;
    op.stats = f->back->stats;
    hyb_do_norm_back(f->at->be, &op);
}

/* dx += what dh makes of it, of hyb_part_norm. */
static void hyb_part_norm_back(hyb_forward *f, hyb_weight w, hyb_weight b)
{
    hyb_normed_back(f, f->back->dx, f->back->dx, f->s->x, f->back->dh, w, b);
}

/* Products with the rows x: the gradients of their weights, and that of x. */
typedef struct hyb_back_products {
    hyb_forward *f;
    hyb_op_matmul_back_x x;
    hyb_op_matmul_back_w w;
} hyb_back_products;

static void hyb_back_products_begin(hyb_back_products *p, hyb_forward *f, const float *x, int64_t x_stride)
{
    memset(p, 0, sizeof *p);
    p->f = f;
    p->x.rows = p->w.rows = f->s->rows;
    p->x.n = p->w.n = f->n;
    p->x.rounding = p->w.rounding = f->rounding;
    p->w.x = x;
    p->w.x_stride = x_stride;
}
static void hyb_back_products_add(hyb_back_products *p, hyb_weight w, hyb_weight bias, const float *dy,
                                  int64_t dy_stride)
{
    hyb_matmul_dy *x = &p->x.out[p->x.n_out++];
    hyb_matmul_dw *o = &p->w.out[p->w.n_out++];
    x->w = hyb_tensor_of(p->f, w);
    x->dy = o->dy = dy;
    x->dy_stride = o->dy_stride = dy_stride;
    o->n = x->w->ne[1];
    o->dw = hyb_grad(p->f, w);
    o->dbias = hyb_grad(p->f, bias);
    p->w.k = x->w->ne[0];
}

/* dlow (n, rank) = factor * dy B, and dB += dy^T (factor * x A^T), which is in `low` (n, rank): one pair. */
static void hyb_adapter_back_wide(hyb_back_products *p, const hyb_adapter_pair *pair, float factor,
                                  const hyb_matmul_dy *dy, const float *low, float *dlow)
{
    hyb_forward *f = p->f;
    const int64_t rank = pair->rank;
    hyb_op_matmul_back_w w = p->w;
    hyb_op_matmul_back_x x = p->x;
    hyb_op_scale scale;
    const hyb_tensor b = hyb_adapter_on(f->sets->use->adapter, &pair->b, f->at->device);
    w.x = low;
    w.x_stride = w.k = rank;
    w.n_out = 1;
    w.out[0].dy = dy->dy;
    w.out[0].dy_stride = dy->dy_stride;
    w.out[0].n = pair->b.ne[1];
    w.out[0].dw = f->back->adapter_grads + pair->b_at;
    w.out[0].dbias = NULL;
    hyb_do_matmul_back_w(f->at->be, &w);
    x.n_out = 1;
    x.out[0] = *dy;
    x.out[0].w = &b;
    x.dx = dlow;
    x.dx_stride = rank;
    hyb_do_matmul_back_x(f->at->be, &x);
    scale.x = scale.out = dlow;
    scale.factor = factor;
    scale.n = f->n * rank;
    if (factor != 1) hyb_do_scale(f->at->be, &scale);
}

/* dx (n, k), without gaps, += the sum over the pairs of dlow A, and dA += dlow^T x. */
static void hyb_adapter_back_narrow(hyb_back_products *p, const hyb_adapter_pair *const pairs[4], float *dx)
{
    hyb_forward *f = p->f;
    hyb_op_matmul_back_w w = p->w;
    hyb_op_matmul_back_x x = p->x;
    hyb_op_add add;
    hyb_tensor a[4];
    const float *dlow = f->back->dlow;
    int i, n = 0;
    for (i = 0; i < p->x.n_out; i++) {
        if (!pairs[i]) continue;
        a[n] = hyb_adapter_on(f->sets->use->adapter, &pairs[i]->a, f->at->device);
        x.out[n].w = &a[n];
        x.out[n].dy = w.out[n].dy = dlow;
        x.out[n].dy_stride = w.out[n].dy_stride = w.out[n].n = pairs[i]->rank;
        w.out[n].dw = f->back->adapter_grads + pairs[i]->a_at;
        w.out[n].dbias = NULL;
        dlow += f->n * (int64_t)pairs[i]->rank;
        n++;
    }
    w.n_out = x.n_out = n;
    hyb_do_matmul_back_w(f->at->be, &w);
    x.dx = f->back->dx_low;
    x.dx_stride = p->w.k;
    hyb_do_matmul_back_x(f->at->be, &x);
    add.a = dx;
    add.b = f->back->dx_low;
    add.out = dx;
    add.n = f->n * p->w.k;
    hyb_do_add(f->at->be, &add);
}

/* The way back through what the adapter that is trained adds to these products. What is low is computed again. */
static void hyb_adapter_back(hyb_back_products *p, float *dx)
{
    hyb_forward *f = p->f;
    const hyb_adapter_use *use = f->sets->use;
    const hyb_adapter_pair *pairs[4];
    const float *low = f->at->narrow;
    float *dlow = f->back->dlow;
    hyb_op_matmul op;
    int i, n = 0;
    hyb_matmul_begin(f, &op, p->w.x, p->w.x_stride);
    op.n_out = p->x.n_out;
    for (i = 0; i < op.n_out; i++) {
        op.out[i].w = p->x.out[i].w;
        pairs[i] = hyb_adapter_pair_of(use->adapter, (hyb_weight)(op.out[i].w - f->tensors));
        n += pairs[i] != NULL;
    }
    if (!n) return;
    hyb_adapter_narrow(f, &op, use, pairs);
    for (i = 0; i < op.n_out; i++) {
        if (!pairs[i]) continue;
        hyb_adapter_back_wide(p, pairs[i], use->scale * pairs[i]->scale, &p->x.out[i], low, dlow);
        low += f->n * (int64_t)pairs[i]->rank;
        dlow += f->n * (int64_t)pairs[i]->rank;
    }
    hyb_adapter_back_narrow(p, pairs, dx);
}

/* dx (n, k): without gaps where an adapter is trained. */
static void hyb_back_products_do(hyb_back_products *p, float *dx, int64_t dx_stride)
{
    bool wanted = false;
    int i;
    p->x.dx = dx;
    p->x.dx_stride = dx_stride;
    for (i = 0; i < p->w.n_out; i++) wanted = wanted || p->w.out[i].dw || p->w.out[i].dbias;
    if (wanted) hyb_do_matmul_back_w(p->f->at->be, &p->w);
    hyb_do_matmul_back_x(p->f->at->be, &p->x);
    if (p->f->back->adapter_grads) hyb_adapter_back(p, dx);
}

/* dy (n, k), without gaps, from dx, of hyb_part_out. */
static void hyb_part_out_back(hyb_forward *f, const float *y, float *dy, int64_t k, hyb_weight w, hyb_weight b,
                              hyb_weight post_norm)
{
    const hyb_back *back = f->back;
    hyb_back_products products;
    const float *d = back->dx;
    if (post_norm) {
        hyb_normed_back(f, back->dblock, NULL, f->s->block, d, post_norm, 0);
        d = back->dblock;
    }
    hyb_back_products_begin(&products, f, y, k);
    hyb_back_products_add(&products, w, b, d, f->hp->n_embd);
    hyb_back_products_do(&products, dy, k);
}
#endif
#endif
