/* model/parts/experts_adapter: what adapters add to products with the matrices of chosen experts, and the way back. A
 * pair has an A and a B for each expert, of which a row reads those of the experts that it has chosen:
 *
 *     y of choice c = W_e x + factor * B_e A_e x      e = ids[c]; t = A_e x, then factor * t, then B_e t, then the sum
 *
 * Both are products of experts themselves, by the same ops, so a choice has the bits that it has alone. */
#ifndef HYB_MODEL_PARTS_EXPERTS_ADAPTER_C
#define HYB_MODEL_PARTS_EXPERTS_ADAPTER_C
#include "../pass.c"

static void hyb_experts_scale(hyb_forward *f, float *x, float factor, int64_t n)
{
    hyb_op_scale op;
    op.x = op.out = x;
    op.factor = factor;
    op.n = n;
    if (factor != 1) hyb_do_scale(f->at->be, &op);
}

static void hyb_experts_sum(hyb_forward *f, float *x, const float *more, int64_t n)
{
    hyb_op_add op;
    op.a = op.out = x;
    op.b = more;
    op.n = n;
    hyb_do_add(f->at->be, &op);
}

/* t (choices, rank) = factor * A_e x, of the rows of op. */
static void hyb_experts_narrow(hyb_forward *f, const hyb_op_experts *op, const hyb_adapter_use *use,
                               const hyb_adapter_pair *pair, float *t)
{
    const hyb_tensor a = hyb_adapter_on(use->adapter, &pair->a, f->at->device);
    hyb_op_experts narrow = *op;
    narrow.n_out = 1;
    narrow.out[0].w = &a;
    narrow.out[0].y = t;
    narrow.out[0].y_stride = pair->rank;
    hyb_do_experts(f->at->be, &narrow);
    hyb_experts_scale(f, t, use->scale * pair->scale, (int64_t)op->n * op->n_used * pair->rank);
}

/* y (choices, out), without gaps, of matrix i of op += factor * B_e A_e x: at most HYB_WIDE_ROWS rows. */
static void hyb_experts_add_pair(hyb_forward *f, const hyb_op_experts *op, int i, const hyb_adapter_use *use,
                                 const hyb_adapter_pair *pair)
{
    const hyb_tensor b = hyb_adapter_on(use->adapter, &pair->b, f->at->device);
    const int64_t n_choices = (int64_t)op->n * op->n_used;
    float *t = f->at->narrow, *wide = t + hyb_align((size_t)(n_choices * pair->rank), 16);
    hyb_op_experts product = *op;
    hyb_experts_narrow(f, op, use, pair, t);
    product.x = t;
    product.x_stride = pair->rank;
    product.each_own = true;
    product.n_out = 1;
    product.out[0].w = &b;
    product.out[0].y = wide;
    product.out[0].y_stride = b.ne[1];
    hyb_do_experts(f->at->be, &product);
    hyb_experts_sum(f, op->out[i].y, wide, n_choices * b.ne[1]);
}

/* What a set adds to rows row to end - 1. */
static void hyb_experts_add(hyb_forward *f, const hyb_op_experts *op, int row, int end, const hyb_adapter_set *set)
{
    hyb_op_experts some = *op;
    int i, k;
    some.n = end - row;
    some.ids += (int64_t)row * op->n_used;
    some.x += (op->each_own ? (int64_t)row * op->n_used : row) * op->x_stride;
    for (i = 0; i < op->n_out; i++) some.out[i].y += (int64_t)row * op->n_used * op->out[i].y_stride;
    for (k = 0; k < set->n; k++)
        for (i = 0; i < op->n_out; i++) {
            const hyb_adapter_pair *pair =
                hyb_adapter_pair_of(set->use[k].adapter, (hyb_weight)(op->out[i].w - f->tensors));
            if (pair) hyb_experts_add_pair(f, &some, i, &set->use[k], pair);
        }
}

/* The products of op, whose y have no gaps, and what adapters add to them: as hyb_products. */
static void hyb_experts_products(hyb_forward *f, const hyb_op_experts *op)
{
    int row, end;
    hyb_do_experts(f->at->be, op);
    for (row = 0; f->set_of_run && row < op->n; row = end) {
        const hyb_adapter_set *set = &f->sets[f->set_of_run[hyb_run_of_row(f->at->be->batch, op->rows, row)]];
        end = HYB_MIN(hyb_rows_alike(f, op->rows, row, op->n), row + HYB_WIDE_ROWS);
        hyb_experts_add(f, op, row, end, set);
    }
}

#ifndef HYBRID_NO_TRAIN
/* Floats a row that the way back through a pair of any of the three matrices works in. */
static int64_t hyb_experts_adapter_work(const hyb_hparams *hp, int64_t rank)
{
    const int64_t widest = HYB_MAX((int64_t)hp->n_embd, (int64_t)hp->n_ff_expert);
    const int64_t a = hyb_experts_back_work(hp->n_expert_used, hp->n_expert, widest, rank);
    const int64_t b = hyb_experts_back_work(hp->n_expert_used, hp->n_expert, rank, widest);
    return hp->n_expert && rank ? HYB_MAX(a, b) : 0;
}

/* low (choices, rank) = factor * A_e x: dB_e += dy^T low, dlow = factor * dy B_e. */
static void hyb_experts_back_wide(hyb_forward *f, const hyb_op_experts_back *op, int i, const hyb_adapter_pair *pair,
                                  float *low)
{
    const hyb_adapter_use *use = f->sets->use;
    const hyb_tensor b = hyb_adapter_on(use->adapter, &pair->b, f->at->device);
    hyb_op_experts_back wide = *op;
    wide.x = low;
    wide.x_stride = pair->rank;
    wide.x_each = wide.dx_each = true;
    wide.n_out = 1;
    wide.out[0] = op->out[i];
    wide.out[0].w = &b;
    wide.out[0].dw = f->back->adapter_grads + pair->b_at;
    wide.add = NULL;
    wide.dx = f->back->dlow;
    hyb_do_experts_back(f->at->be, &wide);
    hyb_experts_scale(f, wide.dx, use->scale * pair->scale, (int64_t)op->n * op->n_used * pair->rank);
}

/* dA_e += dlow^T x, dx += dlow A_e. */
static void hyb_experts_back_narrow(hyb_forward *f, const hyb_op_experts_back *op, const hyb_adapter_pair *pair)
{
    const hyb_tensor a = hyb_adapter_on(f->sets->use->adapter, &pair->a, f->at->device);
    hyb_op_experts_back narrow = *op;
    narrow.dy_each = true;
    narrow.n_out = 1;
    narrow.out[0].w = &a;
    narrow.out[0].dy = f->back->dlow;
    narrow.out[0].dy_stride = pair->rank;
    narrow.out[0].dw = f->back->adapter_grads + pair->a_at;
    narrow.add = op->dx_each ? NULL : op->dx;
    narrow.dx = op->dx_each ? f->back->dx_low : op->dx;
    hyb_do_experts_back(f->at->be, &narrow);
    if (op->dx_each) hyb_experts_sum(f, op->dx, narrow.dx, (int64_t)op->n * op->n_used * a.ne[0]);
}

/* The way back through the products of op, and through what the adapter that is trained adds to them. */
static void hyb_experts_products_back(hyb_forward *f, const hyb_op_experts_back *op)
{
    hyb_op_experts forward;
    int i;
    hyb_do_experts_back(f->at->be, op);
    if (!f->back->adapter_grads) return;
    memset(&forward, 0, sizeof forward);
    forward.rows = f->s->rows;
    forward.x = op->x;
    forward.x_stride = op->x_stride;
    forward.ids = op->ids;
    forward.n = op->n;
    forward.n_used = op->n_used;
    forward.each_own = op->x_each;
    for (i = 0; i < op->n_out; i++) {
        const hyb_adapter_pair *pair =
            hyb_adapter_pair_of(f->sets->use->adapter, (hyb_weight)(op->out[i].w - f->tensors));
        if (!pair) continue;
        hyb_experts_narrow(f, &forward, f->sets->use, pair, f->at->narrow);
        hyb_experts_back_wide(f, op, i, pair, f->at->narrow);
        hyb_experts_back_narrow(f, op, pair);
    }
}
#endif
#endif
