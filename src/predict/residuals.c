/* predict/residuals: what predictions got wrong. An episode, from a prediction to the end of the true steps that
 * correct it, leaves a residual: of the loss, and of every group of weights
 *
 *     R = weights after - weights before - what was predicted
 *
 * by its coefficients on the directions of fit.c, its size, and the angle between what was predicted and what became of
 * it. The last thousand are kept, with the features that the prediction was made from: what went wrong in a similar
 * place is the best guess of what will go wrong in this one. Low-rank factors of R are kept of the last few. */
#ifndef HYB_PREDICT_RESIDUALS_C
#define HYB_PREDICT_RESIDUALS_C
#include "features.c"
#include "fit.c"
#include "lowrank.c"

enum { HYB_RESIDUALS_DEFAULT = 1000 };

typedef struct hyb_residual {
    int64_t step;
    int64_t factors;        /* number of its factors in the store, from 1 on; 0: it has none */
    int32_t phase, horizon; /* hyb_phase; steps that were predicted */
    double loss;            /* what it was - what was predicted, uncorrected: nats */
    double confidence;      /* that the prediction was made with, 0 to 1 */
    float c[HYB_N_GROUPS][HYB_N_DIRECTIONS];
    float magnitude[HYB_N_GROUPS]; /* norm of R */
    float cosine[HYB_N_GROUPS];    /* between the predicted change and the one that came; 0: there was none */
    float features[HYB_N_FEATURES];
} hyb_residual;

/* What residuals of the store have in common. */
typedef struct hyb_residual_means {
    double loss;       /* mean of |loss| */
    double bias;       /* mean of the loss with its sign: what a corrector can take away */
    double confidence; /* mean */
    double magnitude;  /* mean over residuals of the norm of R, all groups together */
    double cosine;     /* mean over groups in which something was predicted */
} hyb_residual_means;

typedef struct hyb_residuals {
    hyb_residual *at; /* (room) a ring */
    int32_t room, n;  /* n: that are there */
    int64_t total;    /* that ever came */
    float *factors;   /* (n_factors, factor_floats) a ring; NULL: none are kept */
    int64_t factor_floats, n_factors, total_factors;
} hyb_residuals;

/* As hyb_lowrank_lay. room 0: a thousand; factor_floats: of one episode; n_factors: episodes whose factors are kept. */
static size_t hyb_residuals_lay(hyb_residuals *s, int32_t room, int64_t factor_floats, int64_t n_factors, void *memory)
{
    size_t bytes;
    memset(s, 0, sizeof *s);
    s->room = room > 0 ? room : HYB_RESIDUALS_DEFAULT;
    s->factor_floats = n_factors > 0 ? factor_floats : 0;
    s->n_factors = s->factor_floats > 0 ? n_factors : 0;
    bytes = hyb_align(sizeof *s->at * (size_t)s->room, 64);
    if (memory) {
        s->at = (hyb_residual *)memory;
        s->factors = s->n_factors ? (float *)(void *)((char *)memory + bytes) : NULL;
    }
    return bytes + sizeof(float) * (size_t)(s->factor_floats * s->n_factors);
}
static size_t hyb_residuals_bytes(int32_t room, int64_t factor_floats, int64_t n_factors)
{
    hyb_residuals s;
    return hyb_residuals_lay(&s, room, factor_floats, n_factors, NULL);
}

/* memory: hyb_residuals_bytes, aligned to 64 bytes, the caller's. */
static void hyb_residuals_init(hyb_residuals *s, int32_t room, int64_t factor_floats, int64_t n_factors, void *memory)
{
    const size_t bytes = hyb_residuals_lay(s, room, factor_floats, n_factors, memory);
    memset(memory, 0, bytes);
}

/* ---- one residual ------------------------------------------------------------------------------------------------ */

/* Of one group: gram of the directions, dots of R with them, the square of R's norm, and what was predicted. If one of
 * these is not a number, the magnitude is infinite, and the store will not take it. */
static void hyb_residual_group(hyb_residual *r, int group, const double gram[HYB_N_GRAM],
                               const double dots[HYB_N_DIRECTIONS], double squares,
                               const double predicted[HYB_N_DIRECTIONS])
{
    const double size = hyb_gram_dot(gram, predicted, predicted);
    double c[HYB_N_DIRECTIONS], with = 0, came, cosine = 0;
    int i;
    hyb_fit(gram, dots, c);
    for (i = 0; i < HYB_N_DIRECTIONS; i++) {
        r->c[group][i] = (float)c[i];
        with += predicted[i] * dots[i];
    }
    came = size + 2 * with + squares;
    if (size > 0 && came > 0) cosine = (size + with) / sqrt(size) / sqrt(came);
    r->magnitude[group] = hyb_is_finite(size + with + squares) ? (float)sqrt(HYB_MAX(squares, 0.0)) : HUGE_VALF;
    r->cosine[group] = (float)hyb_clamp(cosine, -1.0, 1.0);
}

static bool hyb_floats_finite(const float *x, int n)
{
    int i;
    for (i = 0; i < n; i++)
        if (!(fabs((double)x[i]) <= (double)FLT_MAX)) return false;
    return true;
}
static bool hyb_residual_finite(const hyb_residual *r)
{
    return hyb_is_finite(r->loss) && r->confidence >= 0 && r->confidence <= 1 &&
           hyb_floats_finite(&r->c[0][0], HYB_N_GROUPS * HYB_N_DIRECTIONS) &&
           hyb_floats_finite(r->magnitude, HYB_N_GROUPS) && hyb_floats_finite(r->cosine, HYB_N_GROUPS) &&
           hyb_floats_finite(r->features, HYB_N_FEATURES);
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

/* The oldest gives way. factors: factor_floats of them, or NULL. HYBRID_ERROR_NUMERIC: something in it is not finite;
 * nothing has been changed. */
static hybrid_result hyb_residuals_add(hyb_residuals *s, const hyb_residual *r, const float *factors,
                                       hybrid_error *error)
{
    hyb_residual *to = &s->at[s->total % s->room];
    if (!hyb_residual_finite(r))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "the residual of step %lld has numbers that are not finite and is left out: the episode went "
                        "wrong, which a roll-back mends",
                        (long long)r->step);
    *to = *r;
    to->factors = 0;
    if (factors && s->factors) {
        const size_t n = (size_t)s->factor_floats;
        memcpy(s->factors + s->total_factors % s->n_factors * s->factor_floats, factors, sizeof *factors * n);
        to->factors = ++s->total_factors;
    }
    s->total++;
    s->n = (int32_t)HYB_MIN(s->total, (int64_t)s->room);
    return HYBRID_OK;
}

/* The k-th newest, k from 0; NULL: there are no more. */
static const hyb_residual *hyb_residuals_recent(const hyb_residuals *s, int64_t k)
{
    return k >= 0 && k < s->n ? &s->at[(s->total - 1 - k) % s->room] : NULL;
}

/* Its factors; NULL: it had none, or they have given way to newer ones. */
static const float *hyb_residuals_factors(const hyb_residuals *s, const hyb_residual *r)
{
    if (!s->factors || r->factors < 1 || s->total_factors - r->factors >= s->n_factors) return NULL;
    return s->factors + (r->factors - 1) % s->n_factors * s->factor_floats;
}

/* -1 to 1; 0 if one of them is 0 everywhere. */
static double hyb_features_cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    int i;
    for (i = 0; i < HYB_N_FEATURES; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / (sqrt(aa) * sqrt(bb)) : 0;
}

typedef struct hyb_similar {
    const hyb_residual *residual;
    double cosine;
} hyb_similar;

/* Up to n residuals whose features look most like these, the most similar first, newer ones before older ones that are
 * as similar; how many. */
static int hyb_residuals_similar(const hyb_residuals *s, const float features[HYB_N_FEATURES], int n, hyb_similar *out)
{
    int have = 0, i;
    int64_t k;
    if (n < 1) return 0;
    for (k = 0; k < s->n; k++) {
        const hyb_residual *r = hyb_residuals_recent(s, k);
        const double cosine = hyb_features_cosine(r->features, features);
        if (have == n && !(cosine > out[n - 1].cosine)) continue;
        for (i = have < n ? have++ : n - 1; i > 0 && cosine > out[i - 1].cosine; i--) out[i] = out[i - 1];
        out[i].residual = r;
        out[i].cosine = cosine;
    }
    return have;
}

/* Over all that are there; zeros: there are none. They are summed when they are asked for: a sum that is added to and
 * taken from would drift. */
static hyb_residual_means hyb_residuals_means(const hyb_residuals *s)
{
    hyb_residual_means m;
    int64_t k, n_cosine = 0;
    int g;
    memset(&m, 0, sizeof m);
    for (k = 0; k < s->n; k++) {
        const hyb_residual *r = hyb_residuals_recent(s, k);
        double squares = 0;
        m.loss += fabs(r->loss);
        m.bias += r->loss;
        m.confidence += r->confidence;
        for (g = 0; g < HYB_N_GROUPS; g++) {
            squares += (double)r->magnitude[g] * (double)r->magnitude[g];
            m.cosine += (double)r->cosine[g];
            n_cosine += r->cosine[g] != 0;
        }
        m.magnitude += sqrt(squares);
    }
    if (n_cosine) m.cosine /= (double)n_cosine;
    if (s->n) {
        m.loss /= s->n;
        m.bias /= s->n;
        m.confidence /= s->n;
        m.magnitude /= s->n;
    }
    return m;
}

/* Factors may be read into a store that keeps none, or others: then they are passed over. */
static void hyb_residuals_walk_factors(hyb_residuals *s, hyb_byte_walk *w)
{
    int64_t floats = s->factor_floats, n = s->n_factors;
    HYB_WALK(w, floats);
    HYB_WALK(w, n);
    HYB_WALK(w, s->total_factors);
    if (floats == s->factor_floats && n == s->n_factors) {
        hyb_walk_bytes(w, s->factors, sizeof *s->factors * (size_t)(floats * n));
        return;
    }
    s->total_factors = 0;
    if (floats < 0 || n < 0 || (n && (uint64_t)floats > (w->size - w->n) / sizeof(float) / (uint64_t)n))
        w->failed = true;
    else
        w->n += sizeof(float) * (size_t)(floats * n);
}

static void hyb_residuals_walk(hyb_residuals *s, hyb_byte_walk *w)
{
    int32_t i;
    hyb_walk_same(w, s->room);
    HYB_WALK(w, s->total);
    if (w->reads && s->total < 0) w->failed = true;
    if (w->failed) {
        s->total = s->n = 0;
        return;
    }
    s->n = (int32_t)HYB_MIN(s->total, (int64_t)s->room);
    for (i = 0; i < s->n; i++) HYB_WALK(w, s->at[i]);
    hyb_residuals_walk_factors(s, w);
    for (i = 0; w->reads && i < s->n; i++) {
        if (!w->failed && !hyb_residual_finite(&s->at[i])) w->failed = true;
        s->at[i].factors = s->total_factors ? s->at[i].factors : 0;
    }
    if (w->reads && w->failed) s->total = s->n = 0;
}
#endif
