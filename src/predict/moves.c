/* predict/moves: how weights are moved, by each of the ways. */
#ifndef HYB_PREDICT_MOVES_C
#define HYB_PREDICT_MOVES_C
#include "mind.c"

/* For studies: s becomes b with the sign of each value drawn anew, which is as long, and points nowhere. */
static void hyb_predictor_shuffle(hybrid_predictor *p)
{
    const int64_t n = p->disp.store->n_values;
    uint32_t r[4] = { 0, 0, 0, 0 };
    int64_t i;
    for (i = 0; i < n; i++) {
        if (i % 128 == 0) hyb_philox(p->desc.seed, (uint64_t)p->now.n_windows, (uint64_t)(i / 128), r);
        p->disp.s[i] = r[i / 32 % 4] >> i % 32 & 1 ? p->disp.b[i] : -p->disp.b[i];
    }
}

/* Moves weights, as it may have to be done once more. */
static void hyb_predictor_make(hybrid_predictor *p, const hyb_making *m)
{
    const hybrid_predict_desc *d = &p->desc;
    if (m->shuffles) {
        hyb_displacement_move(&p->disp, hyb_no_moves(), true, d->mu, d->gamma, HYB_ANCHOR_STAYS);
        hyb_predictor_shuffle(p);
    }
    hyb_displacement_move(&p->disp, m->moves, m->takes && !m->shuffles, d->mu, d->gamma, (hyb_anchor)m->goes);
    if (m->recalls)
        hyb_remainder_move(&p->hindsight->remainder, &p->hindsight->residuals, &p->hindsight->recall, &p->disp);
}

/* That it was done is remembered. */
static void hyb_predictor_moved(hybrid_predictor *p, const hyb_making *m)
{
    hyb_hindsight *h = p->hindsight;
    int g;
    p->audit.made = *m;
    p->now.n_moves++;
    p->now.since_move = 0;
    if (!h) return;
    h->has_moved = 1;
    for (g = 0; g <= HYB_FAMILIES; g++) {
        h->went[g][0] += (double)m->moves[g].d;
        h->went[g][1] += (double)m->moves[g].b;
        h->went[g][2] += (double)m->moves[g].s;
    }
}

/* ---- what the next window is foretold to be ---------------------------------------------------------------------- */

/* A window ended: the coefficients that are usual, or those of the world models, and what hindsight makes of them. */
static void hyb_predictor_foretell(hybrid_predictor *p, const hyb_family_sums *sums)
{
    hyb_hindsight *h = p->hindsight;
    double usual[HYB_N_GROUPS][HYB_N_DIRECTIONS], scales[HYB_FAMILIES];
    int g;
    memset(usual, 0, sizeof usual);
    hyb_mind_scales(p, scales);
    for (g = 0; g < HYB_N_GROUPS; g++) {
        usual[g][0] = h->along == 1 ? (double)p->desc.eta - 1 : 0;
        usual[g][1] = h->along == 1 ? (double)p->desc.eta * (double)p->desc.mu * scales[g] : 0;
        usual[g][2] = h->along == 2 ? (double)p->desc.amplitude : 0;
    }
    hyb_hindsight_foretell(h, (const double(*)[HYB_N_DIRECTIONS])usual, p->x, sqrt(sums[HYB_FAMILY_ALL].of[HYB_DD]),
                           p->t->step, hyb_platt_of(&p->platt, p->episode.confidence));
}

/* Coefficients of each family, as parts of those of the settings: of d, and of b or s. */
typedef struct hyb_scales {
    double d[HYB_FAMILIES + 1], along[HYB_FAMILIES + 1];
} hyb_scales;

static void hyb_predictor_scales(const hybrid_predictor *p, hyb_scales *s)
{
    const hyb_hindsight *h = p->hindsight;
    const double d = (double)p->desc.eta - 1;
    const double along = h && h->along == 2 ? (double)p->desc.amplitude : (double)p->desc.eta * (double)p->desc.mu;
    int g;
    for (g = 0; g <= HYB_FAMILIES; g++) s->d[g] = s->along[g] = 1;
    if (!h) {
        hyb_mind_scales(p, s->along);
        return;
    }
    for (g = 0; g < HYB_FAMILIES && h->open; g++) {
        if (h->along == 1 && d < 0) s->d[g] = h->told[g][0] / d;
        if (fabs(along) > 1e-9) s->along[g] = h->told[g][h->along] / along;
    }
}

/* ---- the ways ---------------------------------------------------------------------------------------------------- */

/* The length of c_d d + c_b (mu b + d), as a part of that of d. */
static double hyb_move_length(const hyb_family_sums *sums, double c_d, double c_b, double mu, const hyb_scales *scales)
{
    double squares = 0;
    int g;
    for (g = 0; g < HYB_FAMILIES; g++) {
        const double *of = sums[g].of, of_b = c_b * scales->along[g], of_d = c_d * scales->d[g] + of_b;
        squares += of_d * of_d * of[HYB_DD] + 2 * of_d * of_b * mu * of[HYB_DB] + of_b * of_b * mu * mu * of[HYB_BB];
    }
    return sqrt(HYB_MAX(squares, 0.0) / HYB_MAX(sums[HYB_FAMILY_ALL].of[HYB_DD], 1e-300));
}

/* Mode A, at the end of a window: c_d d + c_b b, with b that has taken up d. */
static void hyb_predictor_move_a(hybrid_predictor *p, const hyb_family_sums *sums, double scale)
{
    const double mu = (double)p->desc.mu, eta = (double)p->desc.eta;
    const double sign = p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -1 : 1;
    const bool shuffled = p->desc.placebo == HYBRID_PLACEBO_RANDOM;
    double c_d = p->now.scale * (eta - 1), c_b = scale * p->now.scale * eta * mu, length;
    hyb_scales scales;
    hyb_making m;
    int g;
    hyb_predictor_scales(p, &scales);
    length = hyb_move_length(sums, c_d, c_b, mu, &scales);
    if (!(length > 0) || !(length < 1e6)) {
        hyb_predictor_take_up(p);
        return;
    }
    if (length > p->now.trust) {
        c_d *= p->now.trust / length;
        c_b *= p->now.trust / length;
    }
    memset(&m, 0, sizeof m);
    for (g = 0; g < HYB_FAMILIES + p->desc.vectors; g++) {
        const float along = (float)(sign * c_b * scales.along[g]);
        m.moves[g].d = (float)(c_d * scales.d[g]);
        m.moves[g].b = shuffled ? 0 : along;
        m.moves[g].s = shuffled ? along : 0;
    }
    m.takes = 1;
    m.shuffles = shuffled;
    m.recalls = p->hindsight && hyb_hindsight_recalls(p->hindsight);
    if (m.recalls) p->hindsight->n_recalled++;
    m.goes = HYB_ANCHOR_AFTER;
    hyb_predictor_make(p, &m);
    hyb_predictor_moved(p, &m);
    p->episode.d = c_d;
    p->episode.b = shuffled ? 0 : sign * c_b;
    p->episode.s = shuffled ? sign * c_b : 0;
    p->now.moved = HYB_MIN(length, p->now.trust);
}

/* Along s, as far as the run goes in so many steps; vectors only where they are asked for. What it is of s. */
static float hyb_predictor_of_s(const hybrid_predictor *p, double steps, hyb_making *m)
{
    const float s = (float)(steps / p->desc.window * (double)p->desc.amplitude * p->now.scale *
                            (p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -1 : 1));
    hyb_scales scales;
    int g;
    memset(m, 0, sizeof *m);
    hyb_predictor_scales(p, &scales);
    for (g = 0; g < HYB_FAMILIES + p->desc.vectors; g++)
        m->moves[g].s = p->hindsight ? (float)((double)s * scales.along[g]) : s;
    return s;
}
static void hyb_predictor_moved_s(hybrid_predictor *p, const hyb_making *m, float s)
{
    hyb_predictor_moved(p, m);
    p->episode.b = 0;
    p->episode.s += (double)s;
}
static void hyb_predictor_move_s(hybrid_predictor *p, double steps, hyb_anchor goes)
{
    hyb_making m;
    const float s = hyb_predictor_of_s(p, steps, &m);
    m.goes = goes;
    hyb_predictor_make(p, &m);
    hyb_predictor_moved_s(p, &m, s);
}

/* ---- mode A2: with every step ------------------------------------------------------------------------------------ */

static bool hyb_predictor_moves_along(const hybrid_predictor *p)
{
    return p->now.arm == HYB_ARM_A2 && p->now.phase == HYB_PHASE_PREDICT;
}
static float hyb_predictor_of_step(const hybrid_predictor *p, double rate, hyb_making *m)
{
    return hyb_predictor_of_s(p, (double)p->desc.beta * rate / (double)p->t->desc.rate, m);
}

/* AdamW moves weights along in the pass in which it updates them: they are read and written once. */
static bool hyb_predictor_along(hyb_rider *rider, const hyb_step_seen *seen, const hyb_portion *portion,
                                hyb_op_displace *op)
{
    const hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_making m;
    if (!hyb_predictor_moves_along(p) || p->t->desc.optimizer != HYBRID_OPTIMIZER_ADAMW) return false;
    hyb_predictor_of_step(p, seen->rate, &m);
    hyb_displacement_piece(&p->disp, portion->p->at + portion->at, portion->n, &m.moves[hyb_family_of(portion->p)],
                           HYB_ANCHOR_ALONG, op);
    return op->moves;
}

/* The step was taken; another optimizer has moved nothing along. */
static void hyb_predictor_went_along(hybrid_predictor *p, double rate)
{
    hyb_making m;
    const float s = hyb_predictor_of_step(p, rate, &m);
    m.goes = HYB_ANCHOR_ALONG;
    if (p->t->desc.optimizer == HYBRID_OPTIMIZER_ADAMW)
        hyb_displacement_add(&p->disp, m.moves);
    else
        hyb_predictor_make(p, &m);
    hyb_predictor_moved_s(p, &m, s);
}
#endif
