/* compute/cpu/lowrank: low-rank factors of a matrix, in double and in one order: the ops that predict/lowrank.c calls
 * besides products. They are for a few matrices an episode, and run on one thread. */
#ifndef HYB_COMPUTE_CPU_LOWRANK_C
#define HYB_COMPUTE_CPU_LOWRANK_C
#include "../backend.c"
#include "orthogonal.c"

#ifndef HYBRID_NO_TRAIN

static void hyb_cpu_orthogonal(hyb_backend *be, const hyb_op_orthogonal *op)
{
    HYB_UNUSED(be);
    hyb_orthogonal(op->y, op->rows, op->n, op->work);
}

static void hyb_cpu_factors(hyb_backend *be, const hyb_op_factors *op)
{
    const int n = op->n;
    double *small = op->work, *turn = op->work + n * n;
    int64_t i;
    int k, l;
    HYB_UNUSED(be);
    hyb_gram(op->z, op->cols, n, small);
    hyb_jacobi(small, turn, n);
    for (k = 0; k < op->rank; k++) {
        const double square = small[k * n + k], sigma = square > 0 ? sqrt(square) : 0;
        op->sigma[k] = (float)sigma;
        for (i = 0; i < op->rows; i++) {
            double sum = 0;
            for (l = 0; l < n; l++) sum += (double)op->y[i * n + l] * turn[l * n + k];
            op->left[i * op->rank + k] = op->sigma[k] > 0 ? (float)sum : 0.0f;
        }
        for (i = 0; i < op->cols; i++) {
            double sum = 0;
            for (l = 0; l < n; l++) sum += (double)op->z[i * n + l] * turn[l * n + k];
            op->right[k * op->cols + i] = op->sigma[k] > 0 ? (float)(sum / sigma) : 0.0f;
        }
    }
}

/* Sums of rows, then these. */
static void hyb_cpu_deflate(hyb_backend *be, const hyb_op_deflate *op)
{
    const bool writes = op->rest && (!op->bound || *op->bound < op->most);
    double left[HYB_ORTHOGONAL_MOST], squares = 0;
    int64_t i, j;
    int k;
    HYB_UNUSED(be);
    for (i = 0; i < op->rows; i++) {
        const float *x = op->x + i * op->cols, *add = op->add ? op->add + i * op->cols : NULL;
        double row = 0;
        for (k = 0; k < op->rank; k++) left[k] = (double)op->left[i * op->rank + k] * (double)op->sigma[k];
        for (j = 0; j < op->cols; j++) {
            const float *right = op->right + j;
            double rest = (double)(add ? x[j] + add[j] : x[j]);
            for (k = 0; k < op->rank; k++, right += op->cols) rest -= left[k] * (double)*right;
            if (writes) op->rest[i * op->cols + j] = (float)rest;
            row += rest * rest;
        }
        squares += row;
    }
    *op->squares = squares;
}
#endif
#endif
