/* predict/fit: how a change of weights looks from the four directions that predictions are made of (displacement.c):
 * d, what the last window did; b and s, what persists; and r, the way to the averaged weights. Of a group of weights
 * only sums of products are known, one number each, in the order of the op gram:
 *
 *     gram   dd db ds dr bb bs br ss sr rr     of the directions with each other
 *     dots   d  b  s  r                        of the change with them
 *
 * A direction that is not kept has zeros. */
#ifndef HYB_PREDICT_FIT_C
#define HYB_PREDICT_FIT_C
#include "series.c"

#define HYB_N_DIRECTIONS 4
#define HYB_N_GRAM       10
#define HYB_FIT_RIDGE    1e-3 /* of the square of each direction: two of them are often all but the same */

static double hyb_gram_at(const double gram[HYB_N_GRAM], int i, int j)
{
    const int low = HYB_MIN(i, j), high = HYB_MAX(i, j);
    return gram[low * HYB_N_DIRECTIONS - low * (low - 1) / 2 + high - low];
}

/* The square of the norm of the sum of c_i direction_i; the product of two such sums. */
static double hyb_gram_dot(const double gram[HYB_N_GRAM], const double *a, const double *b)
{
    double sum = 0;
    int i, j;
    for (i = 0; i < HYB_N_DIRECTIONS; i++)
        for (j = 0; j < HYB_N_DIRECTIONS; j++) sum += a[i] * b[j] * hyb_gram_at(gram, i, j);
    return sum;
}

/* c: the coefficients whose sum comes nearest to the change (least squares with a ridge), 0 for directions that are
 * not there. False, and zeros: there is nothing to be fitted, or a number is not finite. */
static bool hyb_fit(const double gram[HYB_N_GRAM], const double dots[HYB_N_DIRECTIONS], double c[HYB_N_DIRECTIONS])
{
    enum { N = HYB_N_DIRECTIONS };
    double a[N][N], y[N], length[N];
    int i, j, k;
    bool known = false;
    for (i = 0; i < N; i++) {
        const double square = hyb_gram_at(gram, i, i);
        length[i] = square > 0 && hyb_is_finite(square) ? sqrt(square) : 0;
        c[i] = 0;
        known = known || length[i] > 0;
    }
    for (i = 0; i < N; i++) {
        y[i] = length[i] > 0 ? dots[i] / length[i] : 0;
        for (j = 0; j < N; j++)
            a[i][j] = i == j                           ? 1 + HYB_FIT_RIDGE
                      : length[i] > 0 && length[j] > 0 ? hyb_gram_at(gram, i, j) / length[i] / length[j]
                                                       : 0;
    }
    for (i = 0; i < N && known; i++) { /* no pivots: a is positive definite, if the sums are those of vectors */
        known = a[i][i] > 1e-9;
        for (j = i + 1; j < N && known; j++) {
            const double f = a[j][i] / a[i][i];
            for (k = i; k < N; k++) a[j][k] -= f * a[i][k];
            y[j] -= f * y[i];
        }
    }
    for (i = N - 1; i >= 0 && known; i--) {
        for (k = i + 1; k < N; k++) y[i] -= a[i][k] * y[k];
        y[i] /= a[i][i];
    }
    for (i = 0; i < N; i++) known = known && hyb_is_finite(y[i]) && (length[i] == 0 || hyb_is_finite(y[i] / length[i]));
    for (i = 0; i < N && known; i++) c[i] = length[i] > 0 ? y[i] / length[i] : 0;
    return known;
}
#endif
