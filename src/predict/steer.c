/* predict/steer: the advice of tuning.c in a run: who is asked, when, and how it is carried out.
 *
 *     arrived       GROUPS      gradients of families that are out of proportion are shortened, before the update
 *     updated       HEALTH      the rate of the next step, true steps that come first, how long predictions are
 *                   PLATEAU     the rate of the next step
 *                   BATCHES     how many batches the next step should have: the caller's to carry out
 *     a window      HORIZONS    how many windows ahead a jump may go
 *
 * What looks on is hybrid_predict_desc.tune, what is carried out tune_acts. Without the second a run has the bits of
 * one that nobody looks at. */
#ifndef HYB_PREDICT_STEER_C
#define HYB_PREDICT_STEER_C
#include "state.c"

static bool hyb_steers(const hybrid_predictor *p, uint32_t part)
{
    return (p->desc.tune & p->desc.tune_acts & part) != 0;
}

static void hyb_steer_init(hybrid_predictor *p)
{
    hyb_tuning_desc desc;
    hyb_steer *s = &p->steer;
    memset(&desc, 0, sizeof desc);
    desc.parts = p->desc.tune;
    desc.acts = p->desc.tune_acts;
    desc.most_batches = p->desc.most_batches;
    memset(s, 0, sizeof *s);
    hyb_tuning_init(&s->tuning, &desc);
    s->now.rate = s->now.lengthen = 1;
    s->now.batches = p->t->desc.n_batches;
}

/* The learning rate's factor, of roll-backs and of advice. */
static void hyb_steer_rate(hybrid_predictor *p) { p->t->rate_factor = p->now.rate_factor * p->steer.now.rate; }

static void hyb_steer_acted(hybrid_predictor *p, uint32_t part)
{
    int i;
    for (i = 0; i < HYB_N_TUNES; i++) p->steer.now.n_acts[i] += (int64_t)(part >> i & 1);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

/* At the end of a window: squares of the weights of each family. */
static hybrid_result hyb_steer_weigh(hybrid_predictor *p, hybrid_error *error)
{
    hyb_store *store = p->disp.store;
    hyb_backend *be = p->disp.be;
    hyb_op_squares op;
    hybrid_result r;
    int i;
    if (!(p->desc.tune & HYBRID_TUNE_GROUPS)) return HYBRID_OK;
    for (i = 0; i < store->n_params; i++) {
        op.x = store->weights + store->params[i].at;
        op.n = store->params[i].n;
        op.sum = &store->made[i];
        hyb_do_squares(be, &op);
    }
    be->ops->read(be, store->sums, store->made, sizeof *store->sums * (size_t)store->n_params);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    memset(p->steer.now.weights, 0, sizeof p->steer.now.weights);
    for (i = 0; i < store->n_params; i++)
        if (store->params[i].family >= 0) p->steer.now.weights[store->params[i].family] += store->sums[i];
    return HYBRID_OK;
}

static void hyb_steer_shorten(const hybrid_predictor *p, const hyb_param *param, double factor)
{
    hyb_op_scale op;
    op.x = op.out = p->disp.store->grads + param->at;
    op.n = param->n;
    op.factor = (float)factor;
    hyb_do_scale(p->disp.be, &op);
}

/* All gradients of a step are there, and the sums of their squares, parameter by parameter: those of families that are
 * too long against their weights become shorter, and the factor that clips all of them is that of what is left. */
static void hyb_steer_groups(hybrid_predictor *p, hyb_step_seen *seen)
{
    const hyb_store *store = p->disp.store;
    const double scale = p->t->format.scale, clip = (double)p->t->desc.clip;
    double squares[HYB_N_GROUPS] = { 0 }, factor[HYB_N_GROUPS], all = 0;
    bool acts = false;
    int i, g;
    if (!(p->desc.tune & HYBRID_TUNE_GROUPS) || !hyb_is_finite(seen->grad_norm)) return;
    for (i = 0; i < store->n_params; i++)
        if (store->params[i].family >= 0) squares[store->params[i].family] += store->sums[i];
    for (g = 0; g < HYB_N_GROUPS; g++) {
        const double weights = sqrt(p->steer.now.weights[g]);
        factor[g] =
            weights > 0 ? hyb_group_tuner_step(&p->steer.tuning.groups, g, sqrt(squares[g]) / scale, weights) : 1;
        acts = acts || factor[g] < 1;
    }
    if (!acts || !hyb_steers(p, HYBRID_TUNE_GROUPS)) return;
    for (i = 0; i < store->n_params; i++) {
        const hyb_param *param = &store->params[i];
        const double f = param->family >= 0 ? factor[param->family] : 1;
        if (f < 1) hyb_steer_shorten(p, param, f);
        all += store->sums[i] * f * f;
    }
    all = sqrt(all) / scale;
    seen->factor = clip > 0 && all > clip ? clip / all : 1;
    hyb_steer_acted(p, HYBRID_TUNE_GROUPS);
}

/* ---- horizons ---------------------------------------------------------------------------------------------------- */

/* A window is over: what was foretold of it 1, 2, 4 and 8 windows ago, by level and trend; and what is foretold now. */
static void hyb_steer_horizons(hybrid_predictor *p)
{
    const hyb_band *b = &p->band;
    hyb_steer_state *s = &p->steer.now;
    int i;
    if (!(p->desc.tune & HYBRID_TUNE_HORIZONS)) return;
    for (i = 0; i < HYB_N_HORIZONS; i++) {
        const int64_t h = (int64_t)1 << i, made = s->n_windows - h;
        if (made >= 0)
            hyb_tuning_predicted(&p->steer.tuning, i, s->ahead[i][made % HYB_STEER_RING], b->last,
                                 s->before[made % HYB_STEER_RING]);
    }
    for (i = 0; i < HYB_N_HORIZONS; i++)
        s->ahead[i][s->n_windows % HYB_STEER_RING] = b->w_level + b->w_trend * (double)((int64_t)1 << i);
    s->before[s->n_windows++ % HYB_STEER_RING] = b->last;
}

/* Steps that a prediction may go; 0: nothing says how many. -1: it is known to be good for nothing. */
static int64_t hyb_steer_most(const hybrid_predictor *p)
{
    const hyb_horizons *h = &p->steer.tuning.horizons;
    if (!hyb_steers(p, HYBRID_TUNE_HORIZONS) || h->n[0] < HYB_HORIZON_KNOWN) return 0;
    return p->steer.now.reach ? p->steer.now.reach * p->desc.window : -1;
}

/* ---- after a step ------------------------------------------------------------------------------------------------ */

/* The features have seen a step. */
static void hyb_steer_step(hybrid_predictor *p)
{
    hyb_steer_state *s = &p->steer.now;
    hyb_advice a;
    if (!p->desc.tune) return;
    a = hyb_tuning_step(&p->steer.tuning, &p->features, hyb_platt_of(&p->platt, p->episode.confidence), p->band.sigma,
                        NULL, NULL, p->t->desc.n_batches);
    s->health = a.health.known ? a.health.score : 0;
    s->advised_rate = a.rate;
    s->advised_length = a.lengthen;
    s->full = a.full;
    s->plateau = (int64_t)a.plateau;
    s->reach = a.reach;
    s->batches = a.batches;
    s->rate = s->lengthen = 1;
    if (hyb_steers(p, HYBRID_TUNE_HEALTH)) {
        s->rate *= a.health.known ? a.health.rate : 1;
        s->lengthen = a.lengthen;
        if (a.full) hyb_phases_force_full(&p->phases, a.full);
    }
    if (hyb_steers(p, HYBRID_TUNE_PLATEAU)) s->rate *= a.raise;
    hyb_steer_rate(p);
    hyb_steer_acted(p, a.acted & ~(uint32_t)(HYBRID_TUNE_HORIZONS | HYBRID_TUNE_GROUPS));
}

static void hyb_steer_walk(hybrid_predictor *p, hyb_byte_walk *w)
{
    if (!p->desc.tune) return;
    HYB_WALK(w, p->steer.now);
    hyb_tuning_walk(&p->steer.tuning, w);
}
#endif
