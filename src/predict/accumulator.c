/* predict/accumulator: what predictions have moved since a phase began, per group of weights. A prediction adds c_d d +
 * c_b b + c_s s + c_r r; only its coefficients and the sums of products of its directions are known here, so what can
 * be said without a copy of the weights is:
 *
 *     path    the sum of the norms of all that was added: an upper bound of how far the weights were moved
 *     root    the root of the sum of their squares: how far, if no two of them had anything in common
 *     along   the sum of their parts along d, in units of a window's true displacement: + goes on, - pulls back
 *     true    the sum of the norms of d: what the true steps did meanwhile, so that path / true is the share
 *
 * and how far the weights were moved exactly, where the caller gives it the room of all weights (sum). At a transition
 * of phases the controller takes what there is for its metrics and for the residual of the episode (hyb_moved_flush),
 * and it begins anew. */
#ifndef HYB_PREDICT_ACCUMULATOR_C
#define HYB_PREDICT_ACCUMULATOR_C
#include "features.c"
#include "fit.c"

typedef struct hyb_moved_group {
    double c[HYB_N_DIRECTIONS]; /* sums of coefficients */
    double path, squares, along, true_path;
} hyb_moved_group;

typedef struct hyb_moved {
    hyb_moved_group group[HYB_N_GROUPS];
    int64_t n;  /* predictions */
    float *sum; /* (n_values) of all that was added to each weight; NULL: it is not kept */
    int64_t n_values;
} hyb_moved;

/* sum: n_values floats of zeros, the caller's; or NULL. */
static void hyb_moved_init(hyb_moved *m, float *sum, int64_t n_values)
{
    memset(m, 0, sizeof *m);
    m->sum = sum;
    m->n_values = sum ? n_values : 0;
}

/* A prediction has begun: its groups follow. */
static void hyb_moved_begin(hyb_moved *m) { m->n++; }

/* What it did to one group. False: they are not numbers, and it is not counted. */
static bool hyb_moved_add(hyb_moved *m, int group, const double c[HYB_N_DIRECTIONS], const double gram[HYB_N_GRAM])
{
    static const double d_alone[HYB_N_DIRECTIONS] = { 1, 0, 0, 0 };
    hyb_moved_group *g = &m->group[group];
    const double square = hyb_gram_dot(gram, c, c), d = gram[0], along = hyb_gram_dot(gram, c, d_alone);
    int i;
    if (!hyb_is_finite(square) || !hyb_is_finite(along) || !(d >= 0)) return false;
    for (i = 0; i < HYB_N_DIRECTIONS; i++) g->c[i] += c[i];
    g->squares += HYB_MAX(square, 0.0);
    g->path += sqrt(HYB_MAX(square, 0.0));
    g->along += d > 0 ? along / d : 0;
    g->true_path += sqrt(d);
    return true;
}

/* And to n weights from `at` on: sum += c_i direction_i; a direction may be NULL. Where sum is not kept, nothing. */
static void hyb_moved_add_values(hyb_moved *m, int64_t at, int64_t n, const float *const direction[HYB_N_DIRECTIONS],
                                 const double c[HYB_N_DIRECTIONS])
{
    int64_t j;
    int i;
    for (i = 0; i < HYB_N_DIRECTIONS && m->sum; i++) {
        const float *from = direction[i], factor = (float)c[i];
        float *to = m->sum + at;
        for (j = 0; j < n && from && factor != 0; j++) to[j] += factor * from[j];
    }
}

/* How far a group was moved at least as far as is known without sums, if its moves were independent. */
static double hyb_moved_root(const hyb_moved_group *g) { return sqrt(g->squares); }

/* How far n weights from `at` on were moved, exactly; 0 where sums are not kept. */
static double hyb_moved_norm(const hyb_moved *m, int64_t at, int64_t n)
{
    double squares = 0;
    int64_t j;
    for (j = 0; j < n && m->sum; j++) squares += (double)m->sum[at + j] * (double)m->sum[at + j];
    return sqrt(squares);
}

/* All that was added, into *out, whose sum is NULL; it begins anew. */
static void hyb_moved_flush(hyb_moved *m, hyb_moved *out)
{
    *out = *m;
    out->sum = NULL;
    out->n_values = 0;
    memset(m->group, 0, sizeof m->group);
    m->n = 0;
    if (m->sum) memset(m->sum, 0, sizeof *m->sum * (size_t)m->n_values);
}

static void hyb_moved_walk(hyb_moved *m, hyb_byte_walk *w)
{
    HYB_WALK(w, m->group);
    HYB_WALK(w, m->n);
    hyb_walk_same(w, m->n_values);
    if (m->sum) hyb_walk_bytes(w, m->sum, sizeof *m->sum * (size_t)m->n_values);
}
#endif
