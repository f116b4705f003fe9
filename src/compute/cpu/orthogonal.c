/* compute/cpu/orthogonal: the dense algebra behind low-rank factors: orthonormal columns of a tall matrix of floats,
 * and the eigenvalues of a small symmetric one. All sums are in double and in one order, whatever the number of
 * threads. */
#ifndef HYB_COMPUTE_CPU_ORTHOGONAL_C
#define HYB_COMPUTE_CPU_ORTHOGONAL_C
#include "../../core/base.c"
#include "../op.c"

#ifndef HYBRID_NO_TRAIN

    /* Smallest square of a pivot, the column having length 1, that Cholesky-QR is trusted with: below it the columns
     * differ by little more than the rounding of their floats. */
    #define HYB_ORTHOGONAL_PIVOT 1e-13

/* g (n, n) = y^T y, of y (rows, n) */
static void hyb_gram(const float *y, int64_t rows, int n, double *g)
{
    int64_t row;
    int i, j;
    memset(g, 0, sizeof *g * (size_t)(n * n));
    for (row = 0; row < rows; row++, y += n)
        for (i = 0; i < n; i++)
            for (j = i; j < n; j++) g[i * n + j] += (double)y[i] * (double)y[j];
    for (i = 0; i < n; i++)
        for (j = 0; j < i; j++) g[i * n + j] = g[j * n + i];
}

/* g = r^T r with r upper triangular, in place: r stands on and above the diagonal. False: a column is, as good as, a
 * sum of those before it. */
static bool hyb_cholesky(double *g, int n)
{
    int i, j, k;
    for (i = 0; i < n; i++) {
        const double whole = g[i * n + i];
        double pivot = whole;
        for (k = 0; k < i; k++) pivot -= g[k * n + i] * g[k * n + i];
        if (!(pivot > HYB_ORTHOGONAL_PIVOT * whole)) return false;
        pivot = sqrt(pivot);
        g[i * n + i] = pivot;
        for (j = i + 1; j < n; j++) {
            double sum = g[i * n + j];
            for (k = 0; k < i; k++) sum -= g[k * n + i] * g[k * n + j];
            g[i * n + j] = sum / pivot;
        }
    }
    return true;
}

/* y = y r^-1, row by row */
static void hyb_solve_rows(float *y, int64_t rows, int n, const double *r)
{
    double q[HYB_ORTHOGONAL_MOST];
    int64_t row;
    int i, k;
    for (row = 0; row < rows; row++, y += n) {
        for (i = 0; i < n; i++) {
            double sum = (double)y[i];
            for (k = 0; k < i; k++) sum -= q[k] * r[k * n + i];
            q[i] = sum / r[i * n + i];
        }
        for (i = 0; i < n; i++) y[i] = (float)q[i];
    }
}

static double hyb_column_dot(const float *y, int64_t rows, int n, int a, int b)
{
    double sum = 0;
    int64_t row;
    for (row = 0; row < rows; row++) sum += (double)y[row * n + a] * (double)y[row * n + b];
    return sum;
}

/* Column i less what it has of those before it, at length 1; its length before. */
static double hyb_column_clean(float *y, int64_t rows, int n, int i)
{
    double length;
    int64_t row;
    int k;
    for (k = 0; k < i; k++) {
        const double dot = hyb_column_dot(y, rows, n, k, i);
        for (row = 0; row < rows; row++)
            y[row * n + i] = (float)((double)y[row * n + i] - dot * (double)y[row * n + k]);
    }
    length = sqrt(hyb_column_dot(y, rows, n, i, i));
    for (row = 0; row < rows && length > 0; row++) y[row * n + i] = (float)((double)y[row * n + i] / length);
    return length;
}

/* Gram and Schmidt, each column until cleaning it changes nothing: slower, and never at a loss. Columns of which
 * nothing is left become 0. */
static void hyb_gram_schmidt(float *y, int64_t rows, int n)
{
    int64_t row;
    int i, round;
    for (i = 0; i < n; i++) {
        const double before = sqrt(hyb_column_dot(y, rows, n, i, i));
        bool clean = false;
        for (row = 0; row < rows && before > 0; row++) y[row * n + i] = (float)((double)y[row * n + i] / before);
        for (round = 0; before > 0 && !clean && round < 4; round++) {
            const double length = hyb_column_clean(y, rows, n, i);
            if (!(length > 0)) break;
            clean = length > 0.9;
        }
        for (row = 0; row < rows && !clean; row++) y[row * n + i] = 0;
    }
}

/* The columns of y (rows, n) become orthonormal, over the same space; those that are sums of others may become 0.
 * small: n * n doubles. Cholesky-QR (g = y^T y = r^T r, y r^-1) loses the square of the condition of y; a second one
 * mends that (Yamamoto et al. 2015). */
static void hyb_orthogonal(float *y, int64_t rows, int n, double *small)
{
    int round;
    for (round = 0; round < 2; round++) {
        hyb_gram(y, rows, n, small);
        if (!hyb_cholesky(small, n)) {
            hyb_gram_schmidt(y, rows, n);
            return;
        }
        hyb_solve_rows(y, rows, n, small);
    }
}

/* One rotation, after which a[p][q] is 0. Columns of v turn with it. */
static void hyb_jacobi_rotate(double *a, double *v, int n, int p, int q)
{
    const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
    const double t = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    int k;
    for (k = 0; k < n; k++) {
        const double x = a[k * n + p], y = a[k * n + q];
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for (k = 0; k < n; k++) {
        const double x = a[p * n + k], y = a[q * n + k];
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
    }
    for (k = 0; k < n; k++) {
        const double x = v[k * n + p], y = v[k * n + q];
        v[k * n + p] = c * x - s * y;
        v[k * n + q] = s * x + c * y;
    }
}

/* The largest eigenvalue comes first, and of each vector the largest component is positive: so it has one sign
 * everywhere. */
static void hyb_jacobi_sort(double *a, double *v, int n)
{
    int i, j, k;
    for (i = 0; i < n; i++) {
        const double value = a[i * n + i];
        int best = i, largest = 0;
        for (j = i + 1; j < n; j++)
            if (a[j * n + j] > a[best * n + best]) best = j;
        a[i * n + i] = a[best * n + best];
        a[best * n + best] = value;
        for (k = 0; k < n; k++) {
            const double x = v[k * n + i];
            v[k * n + i] = v[k * n + best];
            v[k * n + best] = x;
            if (fabs(v[k * n + i]) > fabs(v[largest * n + i])) largest = k;
        }
        if (!(v[largest * n + i] < 0)) continue;
        for (k = 0; k < n; k++) v[k * n + i] = -v[k * n + i];
    }
}

/* Eigenvalues of the symmetric a (n, n), onto its diagonal, and their vectors, columns of v: rotations in a fixed order
 * (Jacobi) until what is beside the diagonal is rounding. */
static void hyb_jacobi(double *a, double *v, int n)
{
    int sweep, p, q;
    memset(v, 0, sizeof *v * (size_t)(n * n));
    for (p = 0; p < n; p++) v[p * n + p] = 1;
    for (sweep = 0; sweep < 40; sweep++) {
        bool turned = false;
        for (p = 0; p < n; p++)
            for (q = p + 1; q < n; q++) {
                const double beside = fabs(a[p * n + q]);
                if (!(beside > 1e-17 * (fabs(a[p * n + p]) + fabs(a[q * n + q]))) || !(beside > DBL_MIN)) continue;
                hyb_jacobi_rotate(a, v, n, p, q);
                a[p * n + q] = a[q * n + p] = 0;
                turned = true;
            }
        if (!turned) break;
    }
    hyb_jacobi_sort(a, v, n);
}
#endif
#endif
