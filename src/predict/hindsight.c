/* predict/hindsight: what a window was foretold to be, family by family, what it turned out to be, and what is learnt
 * from that. At the end of a window its true displacement d is known, and so is what would have been right:
 *
 *     usual    the coefficients of the directions of before, of the settings or of the world models
 *     best     those that would have told d best: least squares along the direction that is extrapolated
 *     right    usual + what the corrector (recursive least squares of best - usual on the features) makes of them, in
 *              families in which it has lately been nearer to best than usual was
 *     told     right + what of d was left in similar windows, by the store of residuals, as long as that has lately
 *              been nearer
 *
 * What is told is what weights are moved by. Residuals are those of right, and the corrector learns from usual: neither
 * learns from itself. The same windows say how much the mean loss was told too high or too low, and loss_corrector.c
 * takes that away; and how far moves went, and how much of that true steps took back. What lies along none of the
 * directions is kept of the last few windows (remainder.c), and similar ones are gone in advance, as long as that
 * helps.
 *
 * Only sums of products are seen here (displacement.c); `last`, the d of the window before, has to be among them. */
#ifndef HYB_PREDICT_HINDSIGHT_C
#define HYB_PREDICT_HINDSIGHT_C
#include "../core/memory.c"
#include "accumulator.c"
#include "corrector.c"
#include "displacement.c"
#include "loss_corrector.c"
#include "remainder.c"

/* Windows that have to be known before something that was learnt is used. */
enum { HYB_HINDSIGHT_QUIET = 8, HYB_HINDSIGHT_SIMILAR = 10, HYB_HINDSIGHT_AHEAD = 54 /* the feature "Predict" */ };

/* Mean errors, 1/10 of the newest: as it would have been told without, and with what was learnt. */
typedef struct hyb_before_after {
    double before, after;
    int64_t n;
} hyb_before_after;

/* Coefficients are of the directions of fit.c: d of the window before, b, s, and r, which there is not. */
typedef struct hyb_hindsight {
    int32_t corrects, remembers, corrects_loss, adds_up; /* what of it is asked for */
    int32_t along;                                       /* the direction that is extrapolated: 1, b; 2, s */
    hyb_corrector corrector;
    hyb_loss_corrector loss_corrector;
    hyb_residuals residuals;
    hyb_remainder remainder;
    hyb_moved moved;
    double usual[HYB_N_GROUPS][HYB_N_DIRECTIONS], right[HYB_N_GROUPS][HYB_N_DIRECTIONS],
        told[HYB_N_GROUPS][HYB_N_DIRECTIONS];        /* of the window that is under way */
    double remembered[HYB_N_GROUPS];                 /* what similar windows would make of right, along */
    double went[HYB_FAMILIES + 1][HYB_N_DIRECTIONS]; /* what weights were moved by at its beginning */
    float x[HYB_N_FEATURES];                         /* what that was told from */
    double loss, shift, confidence;                  /* its mean l, as it was told; by how much that was corrected */
    int64_t open, has_moved;                         /* something was told; weights were moved */
    hyb_before_after losses, similar; /* |mean l - told|; |R|, as a part of |d|, of right and of remembered */
    double path, back, on, true_path; /* lengths of moves; what of them the window after each took back, or went
                                       * on with; of windows */
    double added;                     /* square of all that was added */
    hyb_recall recall;                /* windows whose remainder is told of this one */
    hyb_before_after rests;           /* |rest| as a part of |d|, and of what of it was not told */
    int64_t n_recalled;               /* moves that had it in them */
    int64_t n_used;                   /* families whose coefficients were corrected, of all windows */
} hyb_hindsight;

static void hyb_before_after_add(hyb_before_after *e, double before, double after)
{
    const double part = 1 / (double)HYB_MIN(++e->n, (int64_t)10);
    e->before += part * (before - e->before);
    e->after += part * (after - e->after);
}

/* Room for residuals, and the rank of their factors; 0: they have none. */
typedef struct hyb_hindsight_sizes {
    const hyb_store *store;
    int32_t room, rank;
    uint64_t seed;
} hyb_hindsight_sizes;

static size_t hyb_hindsight_residuals(const hyb_hindsight_sizes *z, int64_t floats)
{
    return hyb_align(hyb_residuals_bytes(z->room, floats, floats ? HYB_REMAINDER_KEPT : 0), 64);
}

/* Bytes of one. */
static size_t hyb_hindsight_bytes(const hyb_hindsight_sizes *z)
{
    hyb_remainder r;
    const size_t remainder = hyb_remainder_lay(&r, z->store, z->rank, z->seed, NULL);
    return hyb_align(sizeof(hyb_hindsight), 64) + hyb_hindsight_residuals(z, r.floats) + remainder;
}

/* As if nothing had been seen yet; what is asked for stays. */
static void hyb_hindsight_begin(hyb_hindsight *h, const hyb_hindsight_sizes *z)
{
    char *at = (char *)h + hyb_align(sizeof *h, 64);
    hyb_remainder r;
    hyb_remainder_lay(&r, z->store, z->rank, z->seed, NULL);
    memset(&h->corrector, 0, sizeof *h - offsetof(hyb_hindsight, corrector));
    hyb_corrector_init(&h->corrector);
    hyb_loss_corrector_init(&h->loss_corrector);
    hyb_residuals_init(&h->residuals, z->room, r.floats, r.floats ? HYB_REMAINDER_KEPT : 0, at);
    hyb_remainder_lay(&h->remainder, z->store, z->rank, z->seed, at + hyb_hindsight_residuals(z, r.floats));
    hyb_moved_init(&h->moved, NULL, 0);
}

/* ---- what comes -------------------------------------------------------------------------------------------------- */

/* Whether the corrector is nearer to what is best than what is usual. */
static bool hyb_hindsight_trusts(const hyb_hindsight *h, int g)
{
    return h->corrects && h->corrector.n[g] >= HYB_HINDSIGHT_QUIET && h->corrector.after[g] < h->corrector.before[g];
}

static bool hyb_before_after_helps(const hyb_before_after *e)
{
    return e->n >= HYB_HINDSIGHT_QUIET && e->after < e->before;
}

/* What similar windows left along the direction, family by family: the mean, pulled to 0 where little is known. And
 * those of them whose factors are still there. */
static void hyb_hindsight_similar(hyb_hindsight *h, int64_t step, double left[HYB_N_GROUPS])
{
    hyb_similar similar[HYB_HINDSIGHT_SIMILAR];
    const int n = hyb_residuals_similar(&h->residuals, h->x, HYB_HINDSIGHT_SIMILAR, similar);
    double weights = 1;
    int i, g;
    memset(left, 0, sizeof *left * HYB_N_GROUPS);
    for (i = 0; i < n; i++) {
        const hyb_residual *r = similar[i].residual;
        const double ago = (double)HYB_MAX(step - r->step, (int64_t)0) / 100;
        const double w = pow(HYB_LOSS_DECAY, ago) * HYB_MAX(similar[i].cosine, 0.0);
        weights += w;
        for (g = 0; g < HYB_N_GROUPS; g++) left[g] += w * (double)r->c[g][h->along];
        if (!hyb_residuals_factors(&h->residuals, r) || !(w > 0)) continue;
        h->recall.factors[h->recall.n] = r->factors;
        h->recall.weight[h->recall.n++] = w;
    }
    for (i = 0; i < h->recall.n; i++) h->recall.weight[i] /= weights;
    for (g = 0; g < HYB_N_GROUPS; g++) left[g] = hyb_clamp(left[g] / weights, -HYB_CORRECT_MOST, HYB_CORRECT_MOST);
}

/* A window ended, with these features, and was so long: what of the next one is told. usual: without what was learnt
 * here. */
static void hyb_hindsight_foretell(hyb_hindsight *h, const double usual[HYB_N_GROUPS][HYB_N_DIRECTIONS],
                                   const float x[HYB_N_FEATURES], double length, int64_t step, double confidence)
{
    const bool remembers = h->remembers && hyb_before_after_helps(&h->similar);
    double left[HYB_N_GROUPS];
    int g;
    memcpy(h->x, x, sizeof h->x);
    h->x[HYB_HINDSIGHT_AHEAD] = 0;
    memset(h->went, 0, sizeof h->went);
    memset(left, 0, sizeof left);
    memset(&h->recall, 0, sizeof h->recall);
    if (h->remembers) hyb_hindsight_similar(h, step, left);
    if (h->recall.n) hyb_remainder_limit(&h->remainder, &h->residuals, &h->recall, HYB_REMAINDER_MOST * length);
    for (g = 0; g < HYB_N_GROUPS; g++) {
        double c[HYB_N_DIRECTIONS];
        memcpy(c, usual[g], sizeof c);
        if (hyb_hindsight_trusts(h, g)) {
            hyb_corrector_apply(&h->corrector, g, x, 1, c);
            h->n_used++;
        }
        memcpy(h->usual[g], usual[g], sizeof c);
        memcpy(h->right[g], usual[g], sizeof c);
        h->right[g][h->along] = c[h->along];
        memcpy(h->told[g], h->right[g], sizeof c);
        h->remembered[g] = hyb_clamp(c[h->along] + left[g], -0.35, 1.75);
        if (remembers) h->told[g][h->along] = h->remembered[g];
    }
    h->confidence = hyb_clamp(confidence, 0.0, 1.0);
    h->open = 1;
    h->has_moved = 0;
    h->loss = h->shift = 0;
}

/* Whether a move is to have what similar windows left in it. */
static bool hyb_hindsight_recalls(const hyb_hindsight *h)
{
    return h->open && h->along == 1 && h->recall.n > 0 && hyb_before_after_helps(&h->rests);
}

/* And of its mean loss: by what l, as it is told without, is to be corrected; 0: by nothing. It is known by now whether
 * weights have been moved. */
static double hyb_hindsight_foretell_loss(hyb_hindsight *h, double l, int64_t step)
{
    hyb_loss_correction c;
    h->x[HYB_HINDSIGHT_AHEAD] = h->has_moved ? 1.0f : 0.0f;
    h->loss = l;
    h->shift = 0;
    if (!h->corrects_loss || !hyb_is_finite(l)) return 0;
    c = hyb_loss_corrector_of(&h->loss_corrector, &h->residuals, h->x, step, exp(l));
    h->shift = log(exp(l) + c.loss) - l; /* a correction is at most a fifth of the loss */
    return hyb_before_after_helps(&h->losses) ? h->shift : 0;
}

/* ---- what came --------------------------------------------------------------------------------------------------- */

/* Of a family: products of the directions of before, and of d with them. */
static void hyb_hindsight_products(const hyb_family_sums *sums, double gram[HYB_N_GRAM], double dots[HYB_N_DIRECTIONS])
{
    const double *of = sums->of;
    const double all[HYB_N_GRAM] = {
        of[HYB_RR], of[HYB_BR], of[HYB_SR], 0, of[HYB_BB], of[HYB_BS], 0, of[HYB_SS], 0, 0
    };
    memcpy(gram, all, sizeof all);
    dots[0] = of[HYB_DR];
    dots[1] = of[HYB_DB];
    dots[2] = of[HYB_DS];
    dots[3] = 0;
}

/* |d - the sum of c direction|^2 */
static double hyb_hindsight_off(const double gram[HYB_N_GRAM], const double dots[HYB_N_DIRECTIONS], double dd,
                                const double c[HYB_N_DIRECTIONS])
{
    double with = 0;
    int i;
    for (i = 0; i < HYB_N_DIRECTIONS; i++) with += c[i] * dots[i];
    return HYB_MAX(dd - 2 * with + hyb_gram_dot(gram, c, c), 0.0);
}

/* Of one family: the corrector learns, and the residual is filled; of its coefficients only the one along the
 * direction: that of d stays where it is, since in hindsight a d that is not gone back always looks better. off: the
 * squares of what was left by right, and of what would have been, with what is remembered. */
static void hyb_hindsight_family(hyb_hindsight *h, int g, const hyb_family_sums *sums, hyb_residual *r, double off[2])
{
    const int along = h->along;
    double gram[HYB_N_GRAM], dots[HYB_N_DIRECTIONS], left[HYB_N_DIRECTIONS], square, rest;
    double best[HYB_N_DIRECTIONS], remembered[HYB_N_DIRECTIONS];
    int i, k;
    hyb_hindsight_products(sums, gram, dots);
    square = hyb_gram_at(gram, along, along);
    if (!(square > 0) || !(sums->of[HYB_DD] > 0)) return;
    memcpy(best, h->usual[g], sizeof best);
    best[along] = hyb_clamp(dots[along] / square, -1.0, 2.0);
    if (h->corrects) hyb_corrector_learn(&h->corrector, g, h->x, h->usual[g], best);
    memcpy(remembered, h->right[g], sizeof remembered);
    remembered[along] = h->remembered[g];
    rest = hyb_hindsight_off(gram, dots, sums->of[HYB_DD], h->right[g]);
    off[0] += rest;
    off[1] += hyb_hindsight_off(gram, dots, sums->of[HYB_DD], remembered);
    for (i = 0; i < HYB_N_DIRECTIONS; i++)
        for (left[i] = dots[i], k = 0; k < HYB_N_DIRECTIONS; k++) left[i] -= h->right[g][k] * hyb_gram_at(gram, i, k);
    hyb_residual_group(r, g, gram, left, rest, h->right[g]);
    memset(r->c[g], 0, sizeof r->c[g]);
    r->c[g][along] = (float)hyb_clamp(left[along] / square, -10.0, 10.0);
}

/* What moves did to the window that ended, and it to them. */
static void hyb_hindsight_moved(hyb_hindsight *h, const hyb_family_sums *sums)
{
    double gram[HYB_N_GRAM], dots[HYB_N_DIRECTIONS], along = 0, squares = 0;
    int g, i;
    h->true_path += sqrt(HYB_MAX(sums[HYB_FAMILY_ALL].of[HYB_DD], 0.0));
    if (!h->has_moved) return;
    hyb_moved_begin(&h->moved);
    for (g = 0; g <= HYB_FAMILIES; g++) {
        hyb_hindsight_products(&sums[g], gram, dots);
        for (i = 0; i < HYB_N_DIRECTIONS; i++) along += h->went[g][i] * dots[i];
        squares += HYB_MAX(hyb_gram_dot(gram, h->went[g], h->went[g]), 0.0);
        if (g < HYB_N_GROUPS) hyb_moved_add(&h->moved, g, h->went[g], gram);
    }
    if (!(squares > 0) || !hyb_is_finite(squares) || !hyb_is_finite(along)) return;
    h->path += sqrt(squares);
    h->back += HYB_MAX(-along / sqrt(squares), 0.0);
    h->on += HYB_MAX(along / sqrt(squares), 0.0);
}

/* d along the move: what part of |d|^2 it had gone in advance. */
static double hyb_hindsight_worth(const hyb_hindsight *h, const hyb_family_sums *sums)
{
    double gram[HYB_N_GRAM], dots[HYB_N_DIRECTIONS], along = 0;
    int g, i;
    for (g = 0; g <= HYB_FAMILIES; g++) {
        hyb_hindsight_products(&sums[g], gram, dots);
        for (i = 0; i < HYB_N_DIRECTIONS; i++) along += h->went[g][i] * dots[i];
    }
    return along / sums[HYB_FAMILY_ALL].of[HYB_DD];
}

/* Factors of what is left of the window, along none of the directions. */
static bool hyb_hindsight_remainder(hyb_hindsight *h, const hyb_displacement *d, const hyb_residual *r, double length)
{
    double c[HYB_N_GROUPS][HYB_N_DIRECTIONS], off[2];
    bool learnt;
    int g;
    memcpy(c, h->right, sizeof c);
    for (g = 0; g < HYB_N_GROUPS; g++) c[g][h->along] += (double)r->c[g][h->along];
    learnt =
        hyb_remainder_learn(&h->remainder, d, &h->residuals, &h->recall, (const double(*)[HYB_N_DIRECTIONS])c, off);
    if (learnt && h->recall.n && length > 0)
        hyb_before_after_add(&h->rests, sqrt(off[0]) / length, sqrt(off[1]) / length);
    return learnt;
}

/* The window that was foretold is over, with this mean l. HYBRID_ERROR_NUMERIC: its numbers are not finite, and the
 * store has not taken them. */
static hybrid_result hyb_hindsight_learn(hyb_hindsight *h, const hyb_displacement *d, const hyb_family_sums *sums,
                                         double l, int64_t step, hybrid_error *error)
{
    hyb_residual r;
    double off[2] = { 0, 0 };
    hybrid_result result = HYBRID_OK;
    bool factors = false;
    int g;
    if (h->adds_up) hyb_hindsight_moved(h, sums);
    if (!h->open) return HYBRID_OK;
    h->open = 0;
    memset(&r, 0, sizeof r);
    for (g = 0; g < HYB_N_GROUPS; g++) hyb_hindsight_family(h, g, &sums[g], &r, off);
    if (!(off[0] > 0)) return HYBRID_OK; /* there was nothing yet to foretell from */
    r.step = step;
    r.phase = h->has_moved ? HYB_PHASE_PREDICT : HYB_PHASE_FULL;
    r.horizon = h->has_moved ? 1 : 0;
    r.confidence = h->confidence;
    r.loss = exp(l) - exp(h->loss);
    memcpy(r.features, h->x, sizeof r.features);
    if (h->remembers)
        hyb_before_after_add(&h->similar, sqrt(off[0] / sums[HYB_FAMILY_ALL].of[HYB_DD]),
                             sqrt(off[1] / sums[HYB_FAMILY_ALL].of[HYB_DD]));
    if (h->corrects_loss && h->loss != 0)
        hyb_before_after_add(&h->losses, fabs(l - h->loss), fabs(l - h->loss - h->shift));
    if (h->remainder.n) factors = hyb_hindsight_remainder(h, d, &r, sqrt(sums[HYB_FAMILY_ALL].of[HYB_DD]));
    if (h->remembers || h->corrects_loss)
        result = hyb_residuals_add(&h->residuals, &r, factors ? h->remainder.factors : NULL, error);
    if (!result && h->corrects_loss && h->loss != 0) hyb_loss_corrector_learn(&h->loss_corrector, &r);
    return result;
}

/* The weights are as they were before the move: what was foretold was not. */
static void hyb_hindsight_break(hyb_hindsight *h)
{
    memset(h->went, 0, sizeof h->went);
    h->open = h->has_moved = 0;
    h->shift = 0;
}

static void hyb_hindsight_walk(hyb_hindsight *h, hyb_byte_walk *w)
{
    hyb_corrector_walk(&h->corrector, w);
    hyb_loss_corrector_walk(&h->loss_corrector, w);
    hyb_residuals_walk(&h->residuals, w);
    hyb_remainder_walk(&h->remainder, w);
    hyb_moved_walk(&h->moved, w);
    hyb_walk_bytes(w, h->usual, sizeof *h - offsetof(hyb_hindsight, usual));
}
#endif
