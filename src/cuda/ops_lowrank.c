/* cuda/ops_lowrank: low-rank factors of a matrix (predict/lowrank.c). */
#ifndef HYB_CUDA_OPS_LOWRANK_C
#define HYB_CUDA_OPS_LOWRANK_C
#include "ops_train.c"

/* clang-format off */
#define HYB_CUDA_KERNELS_LOWRANK(X) \
    X(columns_gram) X(columns_cholesky) X(columns_solve) X(columns_gram_schmidt) X(gram_eigen) X(factors) X(deflate)
/* clang-format on */
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_LOWRANK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_LOWRANK };
#undef HYB_KERNEL_NUMBER

#ifndef HYBRID_NO_TRAIN

/* The work of an op: g (n, n), turn (n, n), parts (HYB_FACTORS_PARTS, n, n), a flag. */
typedef struct hyb_cuda_factors_work {
    double *g, *turn, *parts, *bad;
} hyb_cuda_factors_work;

static hyb_cuda_factors_work hyb_cuda_factors_lay(double *work, int n)
{
    const int64_t square = (int64_t)n * n;
    hyb_cuda_factors_work w;
    w.g = work;
    w.turn = w.g + square;
    w.parts = w.turn + square;
    w.bad = w.parts + HYB_FACTORS_PARTS * square;
    return w;
}

static void hyb_cuda_columns_gram(hyb_cuda_at *at, const float *y, int64_t rows, int32_t n, double *parts)
{
    void *args[4];
    args[0] = &y;
    args[1] = &rows;
    args[2] = &n;
    args[3] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_gram, HYB_FACTORS_PARTS, 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_orthogonal(hyb_cuda_at *at, const hyb_op_orthogonal *op)
{
    hyb_op_orthogonal o = *op;
    hyb_cuda_factors_work w = hyb_cuda_factors_lay(op->work, op->n);
    int32_t n = op->n, second;
    void *args[5];
    for (second = 0; second < 2; second++) {
        hyb_cuda_columns_gram(at, op->y, op->rows, n, w.parts);
        args[0] = &w.parts;
        args[1] = &n;
        args[2] = &w.g;
        args[3] = &w.bad;
        args[4] = &second;
        hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_cholesky, 1, 1, 1, 64, 1, 0, args);
        args[0] = &o.y;
        args[1] = &o.rows;
        args[2] = &n;
        args[3] = &w.g;
        args[4] = &w.bad;
        hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_solve, hyb_div_up(o.rows, 64), 1, 1, 64, 1, 0,
                         args);
    }
    args[3] = &w.bad;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_gram_schmidt, 1, 1, 1, 256, 1, 0, args);
}

/* As in kernels/lowrank.cu. */
typedef struct hyb_cuda_factors_args {
    const float *y, *z;
    int64_t rows, cols;
    int32_t n, rank;
    const double *a, *v;
    float *left, *right, *sigma;
} hyb_cuda_factors_args;

static void hyb_cuda_op_factors(hyb_cuda_at *at, const hyb_op_factors *op)
{
    hyb_cuda_factors_work w = hyb_cuda_factors_lay(op->work, op->n);
    hyb_cuda_factors_args a;
    void *args[4];
    memset(&a, 0, sizeof a);
    a.y = op->y;
    a.z = op->z;
    a.rows = op->rows;
    a.cols = op->cols;
    a.n = op->n;
    a.rank = op->rank;
    a.a = w.g;
    a.v = w.turn;
    a.left = op->left;
    a.right = op->right;
    a.sigma = op->sigma;
    hyb_cuda_columns_gram(at, op->z, op->cols, a.n, w.parts);
    args[0] = &w.parts;
    args[1] = &a.n;
    args[2] = &w.g;
    args[3] = &w.turn;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_gram_eigen, 1, 1, 1, 64, 1, 0, args);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_factors, hyb_div_up(op->rows + op->cols, 256), 1, 1, 256, 1,
                     0, args);
}

/* As in kernels/lowrank.cu. */
typedef struct hyb_cuda_deflate_args {
    const float *x, *add, *left, *sigma, *right;
    int64_t rows, cols;
    int32_t rank;
    float *rest;
    const double *bound;
    double most;
    double *parts;
} hyb_cuda_deflate_args;

/* In the scratch of squares. */
static void hyb_cuda_op_deflate(hyb_cuda_at *at, const hyb_op_deflate *op)
{
    double *squares = op->squares;
    int32_t n_parts = (int32_t)HYB_MIN(op->rows, (int64_t)HYB_CUDA_SQUARES_PARTS);
    hyb_cuda_deflate_args a;
    void *args[3];
    memset(&a, 0, sizeof a);
    a.x = op->x;
    a.add = op->add;
    a.left = op->left;
    a.sigma = op->sigma;
    a.right = op->right;
    a.rows = op->rows;
    a.cols = op->cols;
    a.rank = op->rank;
    a.rest = op->rest;
    a.bound = op->bound;
    a.most = op->most;
    a.parts = (double *)(void *)at->scratch;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_deflate, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &a.parts;
    args[1] = &n_parts;
    args[2] = &squares;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares_sum, 1, 1, 1, 32, 1, 0, args);
}
#endif
#endif
