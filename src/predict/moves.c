/* predict/moves: how weights are moved, by each of the ways. */
#ifndef HYB_PREDICT_MOVES_C
#define HYB_PREDICT_MOVES_C
#include "mind.c"

/* The same for all families; vectors only where they are asked for. */
static void hyb_predictor_spread(const hybrid_predictor *p, hyb_move m, hyb_move moves[HYB_FAMILIES + 1])
{
    int i;
    memset(moves, 0, sizeof *moves * (HYB_FAMILIES + 1));
    for (i = 0; i < HYB_FAMILIES + p->desc.vectors; i++) moves[i] = m;
}

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

/* The length of c_d d + c_b (mu b + d), as a part of that of d; scales: of c_b, family by family. */
static double hyb_move_length(const hyb_family_sums *sums, double c_d, double c_b, double mu, const double *scales)
{
    double squares = 0;
    int g;
    for (g = 0; g < HYB_FAMILIES; g++) {
        const double *of = sums[g].of, of_b = c_b * scales[g], of_d = c_d + of_b;
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
    double c_d = p->now.scale * (eta - 1), c_b = scale * p->now.scale * eta * mu, scales[HYB_FAMILIES + 1], length;
    hyb_move moves[HYB_FAMILIES + 1];
    int g;
    hyb_mind_scales(p, scales);
    scales[HYB_FAMILY_VECTORS] = 1;
    length = hyb_move_length(sums, c_d, c_b, mu, scales);
    if (!(length > 0) || !(length < 1e6)) {
        hyb_predictor_take_up(p);
        return;
    }
    if (length > p->now.trust) {
        c_d *= p->now.trust / length;
        c_b *= p->now.trust / length;
    }
    if (shuffled) {
        hyb_displacement_move(&p->disp, hyb_no_moves(), true, p->desc.mu, p->desc.gamma, HYB_ANCHOR_STAYS);
        hyb_predictor_shuffle(p);
    }
    memset(moves, 0, sizeof moves);
    for (g = 0; g < HYB_FAMILIES + p->desc.vectors; g++) {
        const float along = (float)(sign * c_b * scales[g]);
        moves[g].d = (float)c_d;
        moves[g].b = shuffled ? 0 : along;
        moves[g].s = shuffled ? along : 0;
    }
    hyb_displacement_move(&p->disp, moves, !shuffled, p->desc.mu, p->desc.gamma, HYB_ANCHOR_AFTER);
    p->episode.d = c_d;
    p->episode.b = shuffled ? 0 : sign * c_b;
    p->episode.s = shuffled ? sign * c_b : 0;
    p->now.moved = HYB_MIN(length, p->now.trust);
    p->now.n_moves++;
    p->now.since_move = 0;
}

/* Along s, as far as the run goes in so many steps. */
static hyb_move hyb_predictor_of_s(const hybrid_predictor *p, double steps)
{
    hyb_move m;
    memset(&m, 0, sizeof m);
    m.s = (float)(steps / p->desc.window * (double)p->desc.amplitude * p->now.scale *
                  (p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -1 : 1));
    return m;
}
static void hyb_predictor_moved_s(hybrid_predictor *p, hyb_move m)
{
    p->episode.b = 0;
    p->episode.s += (double)m.s;
    p->now.n_moves++;
    p->now.since_move = 0;
}
static void hyb_predictor_move_s(hybrid_predictor *p, double steps, hyb_anchor goes)
{
    const hyb_move m = hyb_predictor_of_s(p, steps);
    hyb_move moves[HYB_FAMILIES + 1];
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, false, p->desc.mu, p->desc.gamma, goes);
    hyb_predictor_moved_s(p, m);
}

/* ---- mode A2: with every step ------------------------------------------------------------------------------------ */

static bool hyb_predictor_moves_along(const hybrid_predictor *p)
{
    return p->now.arm == HYB_ARM_A2 && p->now.phase == HYB_PHASE_PREDICT;
}
static hyb_move hyb_predictor_of_step(const hybrid_predictor *p, double rate)
{
    return hyb_predictor_of_s(p, (double)p->desc.beta * rate / (double)p->t->desc.rate);
}

/* AdamW moves weights along in the pass in which it updates them: they are read and written once. */
static bool hyb_predictor_along(hyb_rider *rider, const hyb_step_seen *seen, const hyb_portion *portion,
                                hyb_op_displace *op)
{
    const hybrid_predictor *p = hyb_predictor_of(rider);
    hyb_move m, moves[HYB_FAMILIES + 1];
    if (!hyb_predictor_moves_along(p) || p->t->desc.optimizer != HYBRID_OPTIMIZER_ADAMW) return false;
    m = hyb_predictor_of_step(p, seen->rate);
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_piece(&p->disp, portion->p->at + portion->at, portion->n, &moves[hyb_family_of(portion->p)],
                           HYB_ANCHOR_ALONG, op);
    return op->moves;
}

/* The step was taken; another optimizer has moved nothing along. */
static void hyb_predictor_went_along(hybrid_predictor *p, double rate)
{
    if (p->t->desc.optimizer == HYBRID_OPTIMIZER_ADAMW)
        hyb_predictor_moved_s(p, hyb_predictor_of_step(p, rate));
    else
        hyb_predictor_move_s(p, (double)p->desc.beta * rate / (double)p->t->desc.rate, HYB_ANCHOR_ALONG);
}
#endif
