/* train/optimizer: how gradients change weights: one row of a table for each optimizer, over the views of a store.
 *
 * What an optimizer keeps of a parameter are its states, m and v. Which of them there are, for which parameters, is
 * said by `has` alone: memory and checkpoints are loops over them. The average of the weights (ema) is a state that
 * every optimizer can have. */
#ifndef HYB_TRAIN_OPTIMIZER_C
#define HYB_TRAIN_OPTIMIZER_C
#include "../api/trainer.h"
#include "rider.c"
#include "store.c"

/* An update of all parameters. */
typedef struct hyb_update {
    const hybrid_trainer_desc *desc;
    hyb_store *store;
    hyb_backend *be;
    double rate;      /* learning rate */
    double factor;    /* of gradients, which clips them */
    int64_t step;     /* this one's number, from 1 on */
    hyb_rider *rider; /* or NULL */
    const hyb_step_seen *seen;
} hyb_update;

typedef struct hyb_optimizer {
    const char *name;
    bool (*has)(const hybrid_trainer_desc *desc, const hyb_param *p, hyb_state_kind kind); /* m or v */
    int64_t (*scratch)(const hyb_param *p); /* floats that an update of it works in; NULL: none */
    /* Of a piece of a parameter; pieces come in order, and with its last one all of it is done. */
    hybrid_result (*update)(const hyb_update *u, const hyb_portion *portion, hybrid_error *error);
} hyb_optimizer;

/* Where the weights of a piece are, and their gradients. */
static float *hyb_portion_weights(const hyb_update *u, const hyb_portion *portion)
{
    return u->store->weights + portion->p->at + portion->at;
}
static float *hyb_portion_grads(const hyb_update *u, const hyb_portion *portion)
{
    return u->store->grads + portion->p->at + portion->at;
}

/* ---- AdamW ------------------------------------------------------------------------------------------------------- */

static bool hyb_adamw_has(const hybrid_trainer_desc *desc, const hyb_param *p, hyb_state_kind kind)
{
    HYB_UNUSED(desc);
    HYB_UNUSED(p);
    HYB_UNUSED(kind);
    return true;
}

static hybrid_result hyb_adamw_update(const hyb_update *u, const hyb_portion *portion, hybrid_error *error)
{
    const hybrid_trainer_desc *d = u->desc;
    hyb_op_displace then;
    hyb_op_adamw op;
    HYB_UNUSED(error);
    op.w = hyb_portion_weights(u, portion);
    op.m = portion->state[HYB_STATE_M];
    op.v = portion->state[HYB_STATE_V];
    op.grad = hyb_portion_grads(u, portion);
    op.n = portion->n;
    op.factor = (float)u->factor;
    op.rate = (float)u->rate;
    op.beta1 = d->beta1;
    op.beta2 = d->beta2;
    op.c1 = (float)(1 / (1 - pow((double)d->beta1, (double)u->step)));
    op.c2 = (float)(1 / (1 - pow((double)d->beta2, (double)u->step)));
    op.eps = d->eps;
    op.decay = portion->p->decays ? d->decay : 0;
    op.then = u->rider && u->rider->ops->along(u->rider, u->seen, portion, &then) ? &then : NULL;
    hyb_do_adamw(u->be, &op);
    return HYBRID_OK;
}

/* ---- SGD --------------------------------------------------------------------------------------------------------- */

static bool hyb_sgd_has(const hybrid_trainer_desc *desc, const hyb_param *p, hyb_state_kind kind)
{
    HYB_UNUSED(p);
    return kind == HYB_STATE_M && desc->momentum > 0;
}

static hybrid_result hyb_sgd_update(const hyb_update *u, const hyb_portion *portion, hybrid_error *error)
{
    const hybrid_trainer_desc *d = u->desc;
    hyb_op_sgd op;
    HYB_UNUSED(error);
    op.w = hyb_portion_weights(u, portion);
    op.m = portion->state[HYB_STATE_M];
    op.grad = hyb_portion_grads(u, portion);
    op.n = portion->n;
    op.factor = (float)u->factor;
    op.rate = (float)u->rate;
    op.momentum = d->momentum;
    op.decay = portion->p->decays ? d->decay : 0;
    op.nesterov = d->nesterov;
    hyb_do_sgd(u->be, &op);
    return HYBRID_OK;
}

/* ---- Muon --------------------------------------------------------------------------------------------------------
 *
 * Jordan et al. 2024: a matrix of a hidden layer goes along its momentum made orthogonal: with U S V^T = u it is about
 * U V^T, found by five steps of Newton and Schulz, which are products alone. Of the other parameters AdamW takes care.
 *
 *     m = m + (1 - momentum) (g - m),  u = g + momentum (m - g)              Nesterov's look ahead
 *     X = u / |u|;  five times: A = X X^T,  X = a X + (b A + c A A) X        with more rows than columns A = X^T X,
 *                                                                            X = a X + X (b A + c A A)
 *     w = w - rate (max(1, rows / columns)^0.5 X + decay w)                  Jordan's scale */
#define HYB_MUON_A   3.4445f
#define HYB_MUON_B   (-4.7750f)
#define HYB_MUON_C   2.0315f
#define HYB_MUON_EPS 1e-7

static bool hyb_muon_has(const hybrid_trainer_desc *desc, const hyb_param *p, hyb_state_kind kind)
{
    HYB_UNUSED(desc);
    return kind == HYB_STATE_M || p->group != HYB_GROUP_MATRIX;
}

/* Two arrays of the matrix's size, two square ones of its shorter side; each from a multiple of 64 bytes on. */
static int64_t hyb_muon_scratch(const hyb_param *p)
{
    const int64_t side = HYB_MIN(p->rows, p->cols);
    return p->group == HYB_GROUP_MATRIX ? 2 * hyb_store_room(p->n) + 2 * hyb_store_room(side * side) : 0;
}

/* A matrix that is made orthogonal. */
typedef struct hyb_muon {
    hyb_backend *be;
    int64_t rows, cols, side;
    float *x, *y, *a, *b; /* (rows, cols) twice, (side, side) twice */
} hyb_muon;

static void hyb_muon_scale(const hyb_muon *m, float *x, int64_t n, float factor)
{
    hyb_op_scale op;
    op.x = op.out = x;
    op.factor = factor;
    op.n = n;
    hyb_do_scale(m->be, &op);
}

/* x = x + y */
static void hyb_muon_add(const hyb_muon *m, float *x, const float *y, int64_t n)
{
    hyb_op_add op;
    op.a = op.out = x;
    op.b = y;
    op.n = n;
    hyb_do_add(m->be, &op);
}

static hyb_tensor hyb_muon_matrix(const float *data, int64_t rows, int64_t cols)
{
    hyb_tensor t;
    memset(&t, 0, sizeof t);
    t.type = HYBRID_TYPE_F32;
    t.ne[0] = cols;
    t.ne[1] = rows;
    t.ne[2] = t.ne[3] = 1;
    t.nb[0] = sizeof(float);
    t.nb[1] = sizeof(float) * (size_t)cols;
    t.nb[2] = t.nb[3] = t.nb[1] * (size_t)rows;
    t.data = data;
    return t;
}

/* out (n, w's columns) = x (n, w's rows) w */
static void hyb_muon_times(const hyb_muon *m, const float *x, int64_t n, const float *w, int64_t rows, int64_t cols,
                           float *out)
{
    const hyb_tensor t = hyb_muon_matrix(w, rows, cols);
    hyb_op_matmul_back_x op;
    memset(&op, 0, sizeof op);
    op.rows = HYB_ROWS_BATCH;
    op.n = (int)n;
    op.n_out = 1;
    op.out[0].w = &t;
    op.out[0].dy = x;
    op.out[0].dy_stride = rows;
    op.dx = out;
    op.dx_stride = cols;
    hyb_do_matmul_back_x(m->be, &op);
}

/* a = X X^T, of no more rows than columns */
static void hyb_muon_gram_of_rows(const hyb_muon *m)
{
    const hyb_tensor t = hyb_muon_matrix(m->x, m->rows, m->cols);
    hyb_op_matmul op;
    memset(&op, 0, sizeof op);
    op.rows = HYB_ROWS_BATCH;
    op.x = m->x;
    op.x_stride = m->cols;
    op.n = (int)m->rows;
    op.in_chunks = true;
    op.n_out = 1;
    op.out[0].w = &t;
    op.out[0].y = m->a;
    op.out[0].y_stride = m->rows;
    hyb_do_matmul(m->be, &op);
}

/* a = X^T X, of more rows than columns */
static void hyb_muon_gram_of_columns(const hyb_muon *m)
{
    hyb_op_matmul_back_w op;
    hyb_store_clear(m->be, m->a, m->side * m->side);
    memset(&op, 0, sizeof op);
    op.rows = HYB_ROWS_BATCH;
    op.n = (int)m->rows;
    op.x = m->x;
    op.x_stride = m->cols;
    op.k = m->cols;
    op.n_out = 1;
    op.out[0].n = m->cols;
    op.out[0].dy = m->x;
    op.out[0].dy_stride = m->cols;
    op.out[0].dw = m->a;
    hyb_do_matmul_back_w(m->be, &op);
}

/* One of the five steps. */
static void hyb_muon_round(const hyb_muon *m)
{
    const int64_t square = m->side * m->side;
    if (m->rows > m->cols)
        hyb_muon_gram_of_columns(m);
    else
        hyb_muon_gram_of_rows(m);
    hyb_muon_times(m, m->a, m->side, m->a, m->side, m->side, m->b);
    hyb_muon_scale(m, m->a, square, HYB_MUON_B);
    hyb_muon_scale(m, m->b, square, HYB_MUON_C);
    hyb_muon_add(m, m->b, m->a, square);
    if (m->rows > m->cols)
        hyb_muon_times(m, m->x, m->rows, m->b, m->side, m->side, m->y);
    else
        hyb_muon_times(m, m->b, m->side, m->x, m->rows, m->cols, m->y);
    hyb_muon_scale(m, m->x, m->rows * m->cols, HYB_MUON_A);
    hyb_muon_add(m, m->x, m->y, m->rows * m->cols);
}

/* x = the direction in which the momentum looks: of a piece. */
static void hyb_muon_look(const hyb_muon *m, const hyb_update *u, const hyb_portion *portion)
{
    float *grad = hyb_portion_grads(u, portion), *momentum = portion->state[HYB_STATE_M];
    hyb_op_lerp op;
    if (u->factor != 1) hyb_muon_scale(m, grad, portion->n, (float)u->factor);
    op.a = op.out = momentum;
    op.b = grad;
    op.n = portion->n;
    op.t = 1.0f - u->desc->momentum;
    hyb_do_lerp(m->be, &op);
    op.a = grad;
    op.b = momentum;
    op.out = m->x + portion->at;
    op.t = u->desc->momentum;
    hyb_do_lerp(m->be, &op);
}

/* Its norm becomes 1. */
static hybrid_result hyb_muon_normalize(const hyb_muon *m, const hyb_update *u, const hyb_param *p, hybrid_error *error)
{
    hyb_op_squares squares;
    double sum = 0;
    hybrid_result r;
    squares.x = m->x;
    squares.n = p->n;
    squares.sum = u->store->made;
    hyb_do_squares(m->be, &squares);
    m->be->ops->read(m->be, &sum, squares.sum, sizeof sum);
    if ((r = m->be->ops->sync(m->be, error)) != HYBRID_OK) return r;
    hyb_muon_scale(m, m->x, p->n, (float)(1 / HYB_MAX(sqrt(sum), HYB_MUON_EPS)));
    return HYBRID_OK;
}

static hybrid_result hyb_muon_update(const hyb_update *u, const hyb_portion *portion, hybrid_error *error)
{
    const hybrid_trainer_desc *d = u->desc;
    const hyb_param *p = portion->p;
    hyb_muon m;
    hyb_op_sgd op;
    hybrid_result r;
    int i;
    if (p->group != HYB_GROUP_MATRIX) return hyb_adamw_update(u, portion, error);
    m.be = u->be;
    m.rows = p->rows;
    m.cols = p->cols;
    m.side = HYB_MIN(p->rows, p->cols);
    m.x = u->store->scratch;
    m.y = m.x + hyb_store_room(p->n);
    m.a = m.y + hyb_store_room(p->n);
    m.b = m.a + hyb_store_room(m.side * m.side);
    hyb_muon_look(&m, u, portion);
    if (portion->at + portion->n < p->n) return HYBRID_OK;
    if ((r = hyb_muon_normalize(&m, u, p, error)) != HYBRID_OK) return r;
    for (i = 0; i < 5; i++) hyb_muon_round(&m);
    op.w = u->store->weights + p->at;
    op.m = NULL;
    op.grad = m.x;
    op.n = p->n;
    op.factor = (float)sqrt(HYB_MAX(1, (double)p->rows / (double)p->cols));
    op.rate = (float)(u->rate / (double)d->rate * (double)d->muon_rate);
    op.momentum = 0;
    op.decay = p->decays ? d->decay : 0;
    op.nesterov = false;
    hyb_do_sgd(u->be, &op);
    return HYBRID_OK;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const hyb_optimizer *hyb_optimizer_of(const hybrid_trainer_desc *desc)
{
    static const hyb_optimizer rows[] = {
        { "AdamW", hyb_adamw_has, NULL, hyb_adamw_update },
        { "SGD", hyb_sgd_has, NULL, hyb_sgd_update },
        { "Muon", hyb_muon_has, hyb_muon_scratch, hyb_muon_update },
    };
    return &rows[desc->optimizer];
}

static hybrid_result hyb_optimizer_check(const hybrid_trainer_desc *d, hybrid_error *error)
{
    if ((int)d->optimizer < 0 || d->optimizer > HYBRID_OPTIMIZER_MUON)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: there is no optimizer %d",
                        (int)d->optimizer);
    if (!(d->rate > 0) || !(d->beta1 >= 0 && d->beta1 < 1) || !(d->beta2 >= 0 && d->beta2 < 1) || !(d->eps > 0) ||
        !(d->decay >= 0) || !(d->clip >= 0) || !(d->rate_end >= 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: rate %g and eps %g must be positive, beta1 %g and beta2 %g below 1, "
                        "decay %g, clip %g and rate_end %g not negative",
                        (double)d->rate, (double)d->eps, (double)d->beta1, (double)d->beta2, (double)d->decay,
                        (double)d->clip, (double)d->rate_end);
    if (!(d->momentum >= 0 && d->momentum < 1) || !(d->muon_rate >= 0 && d->muon_rate < HUGE_VALF) ||
        !(d->ema >= 0 && d->ema < 1))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: momentum %g and ema %g must be at least 0 and below 1, and muon_rate "
                        "%g positive",
                        (double)d->momentum, (double)d->ema, (double)d->muon_rate);
    return HYBRID_OK;
}

static hybrid_result hyb_optimizer_defaults(hybrid_trainer_desc *d, hybrid_error *error)
{
    if (d->rate == 0) d->rate = d->optimizer == HYBRID_OPTIMIZER_SGD ? 0.01f : 3e-4f;
    if (d->beta1 == 0) d->beta1 = 0.9f;
    if (d->beta2 == 0) d->beta2 = 0.95f;
    if (d->eps == 0) d->eps = 1e-8f;
    if (d->optimizer == HYBRID_OPTIMIZER_MUON && d->momentum == 0) d->momentum = 0.95f;
    if (d->optimizer == HYBRID_OPTIMIZER_MUON && d->muon_rate == 0) d->muon_rate = 0.02f;
    return hyb_optimizer_check(d, error);
}

/* The states of all parameters and the scratch, in a store that is not allocated yet. */
static void hyb_optimizer_states(const hyb_optimizer *o, const hybrid_trainer_desc *d, hyb_store *s)
{
    int kind, i;
    for (kind = 0; kind < HYB_STATES; kind++)
        for (i = 0; i < s->n_params; i++) {
            hyb_param *p = &s->params[i];
            const bool has = kind == HYB_STATE_EMA ? d->ema > 0 : o->has(d, p, (hyb_state_kind)kind);
            if (has) hyb_store_add_state(s, p, (hyb_state_kind)kind);
        }
    for (i = 0; o->scratch && i < s->n_params; i++) s->n_scratch = HYB_MAX(s->n_scratch, o->scratch(&s->params[i]));
}

typedef struct hyb_update_of {
    const hyb_optimizer *optimizer;
    const hyb_update *update;
} hyb_update_of;

static hybrid_result hyb_optimizer_piece(void *user, const hyb_portion *portion, hybrid_error *error)
{
    const hyb_update_of *of = (const hyb_update_of *)user;
    return of->optimizer->update(of->update, portion, error);
}

static hybrid_result hyb_optimizer_update(const hyb_optimizer *o, const hyb_update *u, hybrid_error *error)
{
    hyb_update_of of;
    of.optimizer = o;
    of.update = u;
    return hyb_store_walk(u->store, u->be, 1u << HYB_STATE_M | 1u << HYB_STATE_V, hyb_optimizer_piece, &of, error);
}

/* ---- the average of the weights ---------------------------------------------------------------------------------- */

/* ema = ema + (1 - decay) (w - ema), after an update */
static hybrid_result hyb_ema_piece(void *user, const hyb_portion *portion, hybrid_error *error)
{
    const hyb_update *u = (const hyb_update *)user;
    hyb_op_lerp op;
    HYB_UNUSED(error);
    op.a = op.out = portion->state[HYB_STATE_EMA];
    op.b = hyb_portion_weights(u, portion);
    op.n = portion->n;
    op.t = 1.0f - u->desc->ema;
    hyb_do_lerp(u->be, &op);
    return HYBRID_OK;
}
static hybrid_result hyb_ema_update(hyb_update *u, hybrid_error *error)
{
    if (!(u->desc->ema > 0)) return HYBRID_OK;
    return hyb_store_walk(u->store, u->be, 1u << HYB_STATE_EMA, hyb_ema_piece, u, error);
}

/* Exchanges the weights of a piece and their average. Gradients are spent: they are the third place. */
static hybrid_result hyb_ema_swap_piece(void *user, const hyb_portion *portion, hybrid_error *error)
{
    const hyb_update *u = (const hyb_update *)user;
    float *ema = portion->state[HYB_STATE_EMA], *weights = hyb_portion_weights(u, portion);
    float *third = hyb_portion_grads(u, portion);
    const size_t bytes = sizeof *ema * (size_t)portion->n;
    HYB_UNUSED(error);
    u->be->ops->copy(u->be, third, weights, bytes);
    u->be->ops->copy(u->be, weights, ema, bytes);
    u->be->ops->copy(u->be, ema, third, bytes);
    return HYBRID_OK;
}
static hybrid_result hyb_ema_begin_piece(void *user, const hyb_portion *portion, hybrid_error *error)
{
    const hyb_update *u = (const hyb_update *)user;
    float *ema = portion->state[HYB_STATE_EMA];
    HYB_UNUSED(error);
    u->be->ops->copy(u->be, ema, hyb_portion_weights(u, portion), sizeof *ema * (size_t)portion->n);
    return HYBRID_OK;
}

static hybrid_result hyb_ema_do(hyb_store *s, hyb_backend *be, hyb_portion_fn visit, hybrid_error *error)
{
    hyb_update u;
    hybrid_result r;
    memset(&u, 0, sizeof u);
    u.store = s;
    u.be = be;
    r = hyb_store_walk(s, be, 1u << HYB_STATE_EMA, visit, &u, error);
    return r ? r : be->ops->sync(be, error);
}

/* It begins with the weights. */
static hybrid_result hyb_ema_begin(hyb_store *s, hyb_backend *be, hybrid_error *error)
{
    if (!s->n_params || s->params[0].state[HYB_STATE_EMA] < 0) return be->ops->sync(be, error);
    return hyb_ema_do(s, be, hyb_ema_begin_piece, error);
}

/* The weights become the average, and it the weights. */
static hybrid_result hyb_ema_swap(hyb_store *s, hyb_backend *be, hybrid_error *error)
{
    return hyb_ema_do(s, be, hyb_ema_swap_piece, error);
}
#endif
