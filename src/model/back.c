/* model/back: the steps of a backward pass that several parts take. Each goes back over a step of a forward pass, which
 * stands in model/pass.c. */
#ifndef HYB_MODEL_BACK_C
#define HYB_MODEL_BACK_C
#include "pass.c"

#ifndef HYBRID_NO_TRAIN

/* Where the gradient of a tensor is added up; NULL: nobody asks for it: there is no such tensor, or the model's own
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
static void hyb_back_products_do(hyb_back_products *p, float *dx, int64_t dx_stride)
{
    bool wanted = false;
    int i;
    p->x.dx = dx;
    p->x.dx_stride = dx_stride;
    for (i = 0; i < p->w.n_out; i++) wanted = wanted || p->w.out[i].dw || p->w.out[i].dbias;
    if (wanted) hyb_do_matmul_back_w(p->f->at->be, &p->w);
    hyb_do_matmul_back_x(p->f->at->be, &p->x);
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
