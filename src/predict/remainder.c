/* predict/remainder: what a window did that lies along none of the directions of predictions, of every matrix as
 * low-rank factors (lowrank.c):
 *
 *     rest = d - the sum of c direction        told = the sum over similar windows of weight u sigma v
 *
 * What factors leave out of a rest is carried to the next one, so it comes later. Factors of the last few windows are
 * kept beside their residuals (residuals.c): rank (rows + cols + 1) numbers instead of rows cols. On the host. */
#ifndef HYB_PREDICT_REMAINDER_C
#define HYB_PREDICT_REMAINDER_C
#include "displacement.c"
#include "fit.c"
#include "residuals.c"

enum { HYB_REMAINDER_KEPT = 8, HYB_REMAINDER_SIMILAR = 10 };
#define HYB_REMAINDER_MOST 0.35 /* of |d|: how long what is told may be */

typedef struct hyb_remainder {
    hyb_lowrank *of;    /* (n) */
    int32_t n, rank;    /* matrices that are worth it; 0: none */
    float *rest, *told; /* of one matrix after the other */
    float *factors;     /* (floats) of all matrices, of the newest window */
    void *work;
    int64_t floats;
} hyb_remainder;

/* Which windows are like the one that comes: numbers of their factors, and what they count. */
typedef struct hyb_recall {
    int64_t factors[HYB_REMAINDER_SIMILAR];
    double weight[HYB_REMAINDER_SIMILAR];
    int64_t n;
} hyb_recall;

/* Whether factors of a parameter take less than it does. */
static bool hyb_remainder_takes(const hyb_param *p, int32_t rank)
{
    const int64_t most = HYB_MIN(HYB_MIN(p->rows, p->cols), (int64_t)rank);
    return rank > 0 && p->family >= 0 && (p->rows + p->cols + 1) * most < p->n;
}

static char *hyb_remainder_piece(char *memory, size_t *at, size_t bytes)
{
    char *piece = memory ? memory + *at : NULL;
    *at += hyb_align(bytes, 64);
    return piece;
}

/* Places in memory, where it is not NULL; its bytes. */
static size_t hyb_remainder_lay(hyb_remainder *r, const hyb_store *store, int32_t rank, uint64_t seed, char *memory)
{
    int64_t largest = 0;
    size_t at = 0, work = 0;
    int i, k = 0;
    memset(r, 0, sizeof *r);
    r->rank = rank;
    for (i = 0; i < store->n_params; i++) r->n += hyb_remainder_takes(&store->params[i], rank);
    if (!r->n) return 0;
    r->of = (hyb_lowrank *)(void *)hyb_remainder_piece(memory, &at, sizeof *r->of * (size_t)r->n);
    for (i = 0; i < store->n_params; i++) {
        const hyb_param *p = &store->params[i];
        hyb_lowrank f;
        float carried;
        char *piece;
        if (!hyb_remainder_takes(p, rank)) continue;
        piece = hyb_remainder_piece(memory, &at, hyb_lowrank_lay(&f, p->rows, p->cols, rank, true, NULL));
        if (piece) hyb_lowrank_init(&r->of[k], p->rows, p->cols, rank, true, seed + (uint64_t)k, piece);
        k++;
        f.carry = &carried; /* it has one, which takes room in the work */
        largest = HYB_MAX(largest, p->n);
        work = HYB_MAX(work, hyb_lowrank_work(&f));
        r->floats += hyb_lowrank_kept(&f);
    }
    r->rest = (float *)(void *)hyb_remainder_piece(memory, &at, sizeof *r->rest * (size_t)largest);
    r->told = (float *)(void *)hyb_remainder_piece(memory, &at, sizeof *r->told * (size_t)largest);
    r->factors = (float *)(void *)hyb_remainder_piece(memory, &at, sizeof *r->factors * (size_t)r->floats);
    r->work = hyb_remainder_piece(memory, &at, work);
    return at;
}

/* ---- what similar windows tell ----------------------------------------------------------------------------------- */

static const float *hyb_remainder_kept(const hyb_residuals *s, int64_t factors)
{
    hyb_residual r;
    r.factors = factors;
    return hyb_residuals_factors(s, &r);
}

/* told (rows, cols) of a matrix, whose factors begin at `at` of a window's. */
static void hyb_remainder_tell(const hyb_remainder *r, const hyb_residuals *s, const hyb_recall *q,
                               const hyb_lowrank *f, int64_t at)
{
    int64_t i, j;
    int w, k;
    memset(r->told, 0, sizeof *r->told * (size_t)(f->rows * f->cols));
    for (w = 0; w < q->n; w++) {
        const float *left = hyb_remainder_kept(s, q->factors[w]), *sigma, *right;
        if (!left) continue;
        left += at;
        sigma = left + f->rows * f->rank;
        right = sigma + f->rank;
        for (i = 0; i < f->rows; i++)
            for (k = 0; k < f->rank; k++) {
                const float part = (float)(q->weight[w] * (double)sigma[k] * (double)left[i * f->rank + k]);
                float *to = r->told + i * f->cols;
                for (j = 0; j < f->cols; j++) to[j] += part * right[k * f->cols + j];
            }
    }
}

/* What is told is at most so long: weights are scaled down to it. */
static void hyb_remainder_limit(const hyb_remainder *r, const hyb_residuals *s, hyb_recall *q, double most)
{
    double squares = 0;
    int64_t at = 0, i;
    int k;
    for (k = 0; k < r->n; k++) {
        const hyb_lowrank *f = &r->of[k];
        hyb_remainder_tell(r, s, q, f, at);
        for (i = 0; i < f->rows * f->cols; i++) squares += (double)r->told[i] * (double)r->told[i];
        at += hyb_lowrank_kept(f);
    }
    if (!(squares > most * most)) return;
    for (k = 0; k < q->n; k++) q->weight[k] *= most / sqrt(squares);
}

/* Weights are moved by what is told, and the anchor with them: a window begins. */
static void hyb_remainder_move(const hyb_remainder *r, const hyb_residuals *s, const hyb_recall *q,
                               const hyb_displacement *d)
{
    int64_t at = 0, j;
    int i, k = 0;
    for (i = 0; i < d->store->n_params && r->n; i++) {
        const hyb_param *p = &d->store->params[i];
        if (!hyb_remainder_takes(p, r->rank)) continue;
        hyb_remainder_tell(r, s, q, &r->of[k], at);
        at += hyb_lowrank_kept(&r->of[k++]);
        for (j = 0; j < p->n; j++) {
            d->store->weights[p->at + j] += r->told[j];
            d->anchor[p->at + j] = d->store->weights[p->at + j];
            if (d->added) d->added[p->at + j] += r->told[j];
        }
    }
}

/* ---- what a window did ------------------------------------------------------------------------------------------- */

/* The rest of a matrix; c: coefficients of last, b and s. */
static void hyb_remainder_rest(const hyb_remainder *r, const hyb_displacement *d, const hyb_param *p, const double *c)
{
    const float *w = d->store->weights + p->at, *anchor = d->anchor + p->at, *b = d->b + p->at;
    int64_t i;
    for (i = 0; i < p->n; i++) {
        double rest = (double)w[i] - (double)anchor[i] - c[0] * (double)d->last[p->at + i] - c[1] * (double)b[i];
        if (d->s) rest -= c[2] * (double)d->s[p->at + i];
        r->rest[i] = (float)rest;
    }
}

/* The window that was foretold is over: factors of what is left of it. c: by family. off: squares of the rest, and of
 * what of it was not told. False: it is not finite, or could not be done; the window has no factors. */
static bool hyb_remainder_learn(hyb_remainder *r, const hyb_displacement *d, const hyb_residuals *s,
                                const hyb_recall *q, const double c[HYB_N_GROUPS][HYB_N_DIRECTIONS], double off[2])
{
    float *to = r->factors;
    int64_t at = 0, j;
    int i, k = 0;
    off[0] = off[1] = 0;
    for (i = 0; i < d->store->n_params && r->n; i++) {
        const hyb_param *p = &d->store->params[i];
        hybrid_error error;
        if (!hyb_remainder_takes(p, r->rank)) continue;
        hyb_remainder_rest(r, d, p, c[p->family]);
        hyb_remainder_tell(r, s, q, &r->of[k], at);
        for (j = 0; j < p->n; j++) {
            const double rest = (double)r->rest[j], less = rest - (double)r->told[j];
            off[0] += rest * rest;
            off[1] += less * less;
        }
        if (hyb_lowrank_add(&r->of[k], d->be, r->rest, r->work, &error)) return false;
        at += hyb_lowrank_kept(&r->of[k]);
        to = hyb_lowrank_copy(&r->of[k++], to);
    }
    return r->n > 0;
}

/* Bytes that factors have saved so far. */
static int64_t hyb_remainder_saved(const hyb_remainder *r)
{
    int64_t saved = 0;
    int k;
    for (k = 0; k < r->n; k++) saved += hyb_lowrank_saved(&r->of[k]);
    return saved;
}

static void hyb_remainder_walk(hyb_remainder *r, hyb_byte_walk *w)
{
    int k;
    for (k = 0; k < r->n; k++) hyb_lowrank_walk(&r->of[k], w);
}
#endif
