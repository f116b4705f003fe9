/* predict/partial: mode D: steps of which only some batches go back, and a control variate in the place of the others'
 * gradients (variate.c). P is the optimizer's first moment, which is there anyway: no memory is needed.
 *
 *     splits      as many as the settings say; all of them in the warm-up, from which the slope is learnt as well, and
 *                 for a while after something went wrong
 *     measures    <G, m> of the gradients so far, after each batch that went back: the differences are the batches'
 *     varies      G = G + k (...) m
 *     learn       once the step was taken: a step that is given up, skipped or taken back has taught nothing */
#ifndef HYB_PREDICT_PARTIAL_C
#define HYB_PREDICT_PARTIAL_C
#include "state.c"

/* Why a trainer cannot be split like that; NULL: it can. */
static const char *hyb_partial_why_not(const hybrid_predict_desc *d)
{
    const hybrid_trainer *t = d->trainer;
    bool has_moment = false;
    int i;
    for (i = 0; i < t->store.n_params; i++) has_moment = has_moment || t->store.params[i].state[HYB_STATE_M] >= 0;
    return t->desc.n_batches < 2 ? "a step of one batch has none that could be left out: set n_batches to 2 or more"
           : t->desc.all_reduce  ? "ranks (all_reduce) would each need the slope that is learnt by all of them"
           : !has_moment         ? "the optimizer has no first moment, as SGD without momentum"
           : t->store.offload    ? "the optimizer's states are on the host (offload_optimizer)"
           : d->placebo || d->audit_every ? "it moves no weights, so there are no placebos and no audits of its moves"
                                          : NULL;
}

static bool hyb_partial_acts(const hybrid_predictor *p) { return p->desc.mode == HYBRID_PREDICT_D; }

static int32_t hyb_predictor_splits(hyb_rider *rider, int32_t n)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    if (!hyb_partial_acts(p)) return 0;
    memset(&p->part, 0, sizeof p->part);
    if (p->now.phase == (int64_t)HYB_PHASE_WARMUP || p->variate.rest > 0) return n;
    return HYB_MIN(HYB_MAX((int32_t)floor((double)p->desc.fraction * n + 0.5), 1), n);
}

static hybrid_result hyb_predictor_measures(hyb_rider *rider, hyb_backend *be, hybrid_error *error)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_displacement *disp = &p->disp;
    hyb_store *store = disp->store;
    hyb_op_gram op;
    hybrid_result r;
    double dot = 0, squares = 0;
    int i;
    hyb_store_settle(store, be);
    memset(&op, 0, sizeof op);
    for (i = 0; i < store->n_params; i++) {
        op.a[0] = store->grads + store->params[i].at;
        op.a[1] = hyb_store_state(store, &store->params[i], HYB_STATE_M);
        op.n = store->params[i].n;
        op.sums = disp->made + HYB_GRAM_SUMS * (size_t)i;
        hyb_do_gram(be, &op);
    }
    be->ops->read(be, disp->sums, disp->made, HYB_GRAM_SUMS * sizeof *disp->sums * (size_t)store->n_params);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    for (i = 0; i < store->n_params; i++) {
        dot += disp->sums[HYB_GRAM_SUMS * i + 1];     /* x0 x1 */
        squares += disp->sums[HYB_GRAM_SUMS * i + 4]; /* x1 x1 */
    }
    p->part.measured = dot;
    p->part.squares = squares;
    return HYBRID_OK;
}

static void hyb_predictor_counts(hyb_rider *rider, const hyb_step_batch *batch)
{
    hyb_variate_step *s = &hyb_predictor_of(rider)->part;
    hyb_variate_count(s, batch->weight, batch->loss, batch->n_counted);
    s->scale = batch->scale;
    if (batch->back && batch->weight > 0)
        hyb_variate_back(s, batch->weight, batch->loss, batch->weight / batch->back_weight, batch->scale);
}

static hybrid_result hyb_predictor_varies(hyb_rider *rider, hyb_backend *be, double *squares, hybrid_error *error)
{
    const hybrid_predictor *p = hyb_predictor_of(rider);
    const hyb_variate_step *s = &p->part;
    hyb_store *store = p->disp.store;
    const double c = hyb_variate_factor(&p->variate, s) * s->scale;
    hyb_op_displace op;
    int i;
    HYB_UNUSED(error);
    *squares = 0;
    if (c == 0) return HYBRID_OK;
    memset(&op, 0, sizeof op);
    op.moves = true;
    op.c_b = (float)c;
    op.goes = HYB_ANCHOR_STAYS;
    for (i = 0; i < store->n_params; i++) {
        const hyb_param *param = &store->params[i];
        op.b = hyb_store_state(store, param, HYB_STATE_M);
        if (!op.b) continue;
        op.w = store->grads + param->at;
        op.anchor = p->disp.anchor + param->at; /* of which nothing is taken: c_d is 0 */
        op.n = param->n;
        hyb_do_displace(be, &op);
    }
    *squares = 2 * c * s->dot + c * c * s->squares;
    return HYBRID_OK;
}

/* The step was taken. */
static void hyb_partial_learn(hybrid_predictor *p)
{
    if (hyb_partial_acts(p)) hyb_variate_learn(&p->variate, &p->part, p->t->noise.noise);
}

/* A window is over: should the run go astray, it goes back to here, and on by whole steps. */
static void hyb_partial_keep(hybrid_predictor *p)
{
    if (hyb_partial_acts(p) && p->desc.fraction < 1) hyb_predictor_keep(p);
}

/* What is known of it. */
static void hyb_partial_metrics(const hybrid_predictor *p, hybrid_predict_metrics *m)
{
    const hyb_variate *v = &p->variate;
    m->n_backward = v->n_back;
    m->n_forward = v->n_forward;
    m->loss_correlation = hyb_variate_correlation(v);
    m->variate_slope = v->k;
    if (v->before > 0) m->variance_removed = 1 - v->after / v->before;
    if (v->noise > 0) m->noise_removed = m->variance_removed * v->along / v->noise;
}
#endif
