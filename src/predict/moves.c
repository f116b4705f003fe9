/* predict/moves: how weights are moved, by each of the ways. */
#ifndef HYB_PREDICT_MOVES_C
#define HYB_PREDICT_MOVES_C
#include "state.c"

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

/* The length of c_d d + c_b (mu b + d), as a part of that of d. */
static double hyb_move_length(const hyb_family_sums *all, double c_d, double c_b, double mu)
{
    const double of_d = c_d + c_b, of_b = c_b * mu, dd = HYB_MAX(all->of[HYB_DD], 1e-300);
    const double squares = of_d * of_d * dd + 2 * of_d * of_b * all->of[HYB_DB] + of_b * of_b * all->of[HYB_BB];
    return sqrt(HYB_MAX(squares, 0.0) / dd);
}

/* Mode A, at the end of a window: c_d d + c_b b, with b that has taken up d. */
static void hyb_predictor_move_a(hybrid_predictor *p, const hyb_family_sums *sums, double scale)
{
    const double mu = (double)p->desc.mu, eta = (double)p->desc.eta;
    double c_d = p->now.scale * (eta - 1), c_b = scale * p->now.scale * eta * mu;
    const double length = hyb_move_length(&sums[HYB_FAMILY_ALL], c_d, c_b, mu);
    hyb_move m, moves[HYB_FAMILIES + 1];
    memset(&m, 0, sizeof m);
    if (!(length > 0) || !(length < 1e6)) {
        hyb_predictor_take_up(p);
        return;
    }
    if (length > p->now.trust) {
        c_d *= p->now.trust / length;
        c_b *= p->now.trust / length;
    }
    m.d = (float)c_d;
    m.b = (float)(p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -c_b : c_b);
    if (p->desc.placebo == HYBRID_PLACEBO_RANDOM) {
        hyb_displacement_move(&p->disp, hyb_no_moves(), true, p->desc.mu, p->desc.gamma, HYB_ANCHOR_STAYS);
        hyb_predictor_shuffle(p);
        m.s = m.b;
        m.b = 0;
    }
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, p->desc.placebo != HYBRID_PLACEBO_RANDOM, p->desc.mu, p->desc.gamma,
                          HYB_ANCHOR_AFTER);
    p->episode.d = (double)m.d;
    p->episode.b = (double)m.b;
    p->episode.s = (double)m.s;
    p->now.moved = HYB_MIN(length, p->now.trust);
    p->now.n_moves++;
    p->now.since_move = 0;
}

/* Along s, as far as the run goes in so many steps. */
static void hyb_predictor_move_s(hybrid_predictor *p, double steps, hyb_anchor goes)
{
    hyb_move m, moves[HYB_FAMILIES + 1];
    memset(&m, 0, sizeof m);
    m.s = (float)(steps / p->desc.window * (double)p->desc.amplitude * p->now.scale *
                  (p->desc.placebo == HYBRID_PLACEBO_MIRROR ? -1 : 1));
    hyb_predictor_spread(p, m, moves);
    hyb_displacement_move(&p->disp, moves, false, p->desc.mu, p->desc.gamma, goes);
    p->episode.b = 0;
    p->episode.s += (double)m.s;
    p->now.n_moves++;
    p->now.since_move = 0;
}
#endif
