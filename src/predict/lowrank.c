/* predict/lowrank: a matrix by few columns and rows: R (rows, cols) ~ the sum over k of sigma_k u_k v_k^T, for what
 * an episode of prediction got wrong in a matrix of weights. Randomized subspace iteration (Halko, Martinsson, Tropp
 * 2011) with one power step:
 *
 *     Y = R Z        Z (cols, side): the v of last time, and random columns      side = rank + 4
 *     Y = orth(Y)    Z = R^T Y      Z = orth(Z)      Y = R Z      Y = orth(Y)
 *     Z = R^T Y      so that R ~ Y Z^T; with E the eigenvectors of Z^T Z = E S^2 E^T:
 *     u = Y E        sigma = S      v = Z E / S      of which the first `rank` are kept
 *
 * All of it are ops of a back end: matrices that live on a GPU stay there, only the factors leave it, and the host
 * waits for these alone. What is not kept is carried on to the next matrix, where there is memory for that (error
 * feedback, as in Seide et al. 2014): no part of a residual is lost for good, it comes later. */
#ifndef HYB_PREDICT_LOWRANK_C
#define HYB_PREDICT_LOWRANK_C
#include "../compute/call.c"
#include "../core/random.c"
#include "walk.c"

enum {
    HYB_LOWRANK_DEFAULT = 4,
    HYB_LOWRANK_MORE = 4, /* columns that are sought beyond those that are kept */
    HYB_LOWRANK_MOST = HYB_ORTHOGONAL_MOST - HYB_LOWRANK_MORE
};
#define HYB_LOWRANK_LARGEST 1e36 /* norm of a matrix: products of it stay far from the end of floats */

typedef struct hyb_lowrank {
    int64_t rows, cols;
    int32_t rank, side; /* rank: at most the shorter side of the matrix */
    uint64_t seed;
    float *left;  /* u (rows, rank) */
    float *right; /* v^T (rank, cols) */
    float *sigma; /* (rank), the largest first; 0: there is nothing left */
    float *carry; /* (rows, cols) what was not kept so far; NULL: that is forgotten */
    bool apart;   /* the carry is the caller's, on a device: see hyb_lowrank_carry */
    int64_t n;    /* matrices so far */
    double norm,
        discarded; /* of the last one with what was carried to it, and of what was not kept of it (Frobenius) */
    uint64_t bytes_whole, bytes_kept; /* of all so far */
} hyb_lowrank;

static int64_t hyb_lowrank_room(int64_t n) { return (n + 15) / 16 * 16; }

/* Floats that factors take. */
static int64_t hyb_lowrank_kept(const hyb_lowrank *f) { return (f->rows + f->cols + 1) * f->rank; }

/* Shapes, and places in memory (of hyb_lowrank_bytes; zeros) where it is not NULL. rank 0: the default. */
static size_t hyb_lowrank_lay(hyb_lowrank *f, int64_t rows, int64_t cols, int32_t rank, bool carries, void *memory)
{
    const int64_t most = HYB_MIN(HYB_MIN(rows, cols), (int64_t)HYB_LOWRANK_MOST);
    float *at = (float *)memory;
    int64_t left, right, sigma, carry;
    memset(f, 0, sizeof *f);
    f->rows = rows;
    f->cols = cols;
    f->rank = (int32_t)HYB_MIN((int64_t)(rank > 0 ? rank : HYB_LOWRANK_DEFAULT), most);
    f->side = (int32_t)HYB_MIN(HYB_MIN(rows, cols), (int64_t)f->rank + HYB_LOWRANK_MORE);
    left = hyb_lowrank_room(rows * f->rank);
    right = hyb_lowrank_room(cols * f->rank);
    sigma = hyb_lowrank_room(f->rank);
    carry = carries ? hyb_lowrank_room(rows * cols) : 0;
    if (at) {
        f->left = at;
        f->right = f->left + left;
        f->sigma = f->right + right;
        f->carry = carries ? f->sigma + sigma : NULL;
    }
    return sizeof *at * (size_t)(left + right + sigma + carry);
}

static size_t hyb_lowrank_bytes(int64_t rows, int64_t cols, int32_t rank, bool carries)
{
    hyb_lowrank f;
    return hyb_lowrank_lay(&f, rows, cols, rank, carries, NULL);
}

/* memory: hyb_lowrank_bytes, aligned to 64 bytes, the caller's. */
static void hyb_lowrank_init(hyb_lowrank *f, int64_t rows, int64_t cols, int32_t rank, bool carries, uint64_t seed,
                             void *memory)
{
    const size_t bytes = hyb_lowrank_lay(f, rows, cols, rank, carries, memory);
    memset(memory, 0, bytes);
    f->seed = seed;
}

/* What is not kept is carried in memory of a device (rows, cols), zeros, which is the caller's, and in a checkpoint by
 * the caller. For factors that were made to carry nothing. */
static void hyb_lowrank_carry(hyb_lowrank *f, float *carry)
{
    f->carry = carry;
    f->apart = carry != NULL;
}

typedef struct hyb_lowrank_job {
    hyb_backend *be;
    const float *r; /* (rows, cols) */
    int64_t rows, cols;
    int side;
    double *squares;             /* of the norm, and of that of what is not kept */
    double *work;                /* hyb_factors_work */
    float *y, *z;                /* (rows, side), (cols, side) */
    float *left, *right, *sigma; /* as those of the factors */
    float *whole;                /* (rows, cols) with what is carried to it, if anything is */
} hyb_lowrank_job;

/* Places in memory of the back end where it is not NULL; bytes. */
static size_t hyb_lowrank_place(const hyb_lowrank *f, void *memory, hyb_lowrank_job *j)
{
    const int64_t work = hyb_lowrank_room(8 + hyb_factors_work(f->side)), y = hyb_lowrank_room(f->rows * f->side);
    const int64_t z = hyb_lowrank_room(f->cols * f->side), left = hyb_lowrank_room(f->rows * f->rank);
    const int64_t right = hyb_lowrank_room(f->cols * f->rank), sigma = hyb_lowrank_room(f->rank);
    const int64_t whole = f->carry ? hyb_lowrank_room(f->rows * f->cols) : 0;
    if (memory) {
        j->squares = (double *)memory;
        j->work = j->squares + 8;
        j->y = (float *)(void *)(j->squares + work);
        j->z = j->y + y;
        j->left = j->z + z;
        j->right = j->left + left;
        j->sigma = j->right + right;
        j->whole = j->sigma + sigma;
    }
    return sizeof(double) * (size_t)work + sizeof(float) * (size_t)(y + z + left + right + sigma + whole);
}

/* Bytes that hyb_lowrank_add works in: one room for all matrices, the largest that one of them asks for. */
static size_t hyb_lowrank_work(const hyb_lowrank *f) { return hyb_lowrank_place(f, NULL, NULL); }

/* y = r z */
static void hyb_lowrank_times(const hyb_lowrank_job *j)
{
    hyb_tensor t;
    hyb_op_matmul_back_x op;
    memset(&t, 0, sizeof t);
    t.type = HYBRID_TYPE_F32;
    t.ne[0] = j->side;
    t.ne[1] = j->cols;
    t.ne[2] = t.ne[3] = 1;
    t.nb[0] = sizeof(float);
    t.nb[1] = sizeof(float) * (size_t)j->side;
    t.nb[2] = t.nb[3] = t.nb[1] * (size_t)j->cols;
    t.data = j->z;
    memset(&op, 0, sizeof op);
    op.rows = HYB_ROWS_BATCH;
    op.n = (int)j->rows;
    op.n_out = 1;
    op.out[0].w = &t;
    op.out[0].dy = j->r;
    op.out[0].dy_stride = j->cols;
    op.dx = j->y;
    op.dx_stride = j->side;
    hyb_do_matmul_back_x(j->be, &op);
}

/* z = r^T y */
static void hyb_lowrank_times_back(const hyb_lowrank_job *j)
{
    hyb_op_matmul_back_w op;
    j->be->ops->zero(j->be, j->z, sizeof *j->z * (size_t)(j->cols * j->side));
    memset(&op, 0, sizeof op);
    op.rows = HYB_ROWS_BATCH;
    op.n = (int)j->rows;
    op.x = j->y;
    op.x_stride = j->side;
    op.k = j->side;
    op.n_out = 1;
    op.out[0].n = j->cols;
    op.out[0].dy = j->r;
    op.out[0].dy_stride = j->cols;
    op.out[0].dw = j->z;
    hyb_do_matmul_back_w(j->be, &op);
}

/* Near enough to a normal variable (the sum of four uniform ones, variance 1), and with the same bits everywhere. */
static float hyb_lowrank_random(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t r[4];
    hyb_philox(seed, stream, counter, r);
    return (float)((((double)r[0] + (double)r[1]) + ((double)r[2] + (double)r[3])) *
                       (1.7320508075688772 / 4294967296.0) -
                   2 * 1.7320508075688772);
}

/* Where the search begins: a matrix is often like the one before it. */
static float hyb_lowrank_start(const hyb_lowrank *f, int64_t i, int k, double scale)
{
    if (k < f->rank && f->sigma[k] > 0) return f->right[k * f->cols + i];
    return (float)(scale *
                   (double)hyb_lowrank_random(f->seed, (uint64_t)f->n, (uint64_t)i * (uint64_t)f->side + (uint64_t)k));
}
static void hyb_lowrank_begin(const hyb_lowrank *f, const hyb_lowrank_job *j)
{
    const double scale = 1 / sqrt((double)f->cols);
    float z[4 * HYB_ORTHOGONAL_MOST]; /* some rows */
    int64_t i;
    int n = 0, k;
    for (i = 0; i < f->cols; i++) {
        for (k = 0; k < f->side; k++) z[n++] = hyb_lowrank_start(f, i, k, scale);
        if (n + f->side <= 4 * HYB_ORTHOGONAL_MOST && i + 1 < f->cols) continue;
        j->be->ops->write(j->be, j->z + (i + 1) * f->side - n, z, sizeof *z * (size_t)n);
        n = 0;
    }
}

/* x becomes orthonormal. */
static void hyb_lowrank_orthogonal(const hyb_lowrank_job *j, float *x, int64_t rows)
{
    hyb_op_orthogonal op;
    op.y = x;
    op.rows = rows;
    op.n = j->side;
    op.work = j->work;
    hyb_do_orthogonal(j->be, &op);
}

/* The space of the largest directions: y (rows, side) orthonormal, z = r^T y. */
static void hyb_lowrank_search(const hyb_lowrank_job *j)
{
    int round;
    for (round = 0; round < 2; round++) {
        hyb_lowrank_times(j);
        hyb_lowrank_orthogonal(j, j->y, j->rows);
        hyb_lowrank_times_back(j);
        if (!round) hyb_lowrank_orthogonal(j, j->z, j->cols);
    }
}

/* u, sigma and v of y z^T. */
static void hyb_lowrank_factors(const hyb_lowrank *f, const hyb_lowrank_job *j)
{
    hyb_op_factors op;
    op.y = j->y;
    op.z = j->z;
    op.rows = f->rows;
    op.cols = f->cols;
    op.n = j->side;
    op.rank = f->rank;
    op.left = j->left;
    op.right = j->right;
    op.sigma = j->sigma;
    op.work = j->work;
    hyb_do_factors(j->be, &op);
}

/* r with what is carried to it, and its squares: into `whole`, if anything is carried. */
static void hyb_lowrank_whole(const hyb_lowrank *f, hyb_lowrank_job *j)
{
    hyb_op_deflate op;
    memset(&op, 0, sizeof op);
    op.x = j->r;
    op.add = f->carry;
    op.rows = f->rows;
    op.cols = f->cols;
    op.rest = f->carry ? j->whole : NULL;
    op.squares = &j->squares[0];
    hyb_do_deflate(j->be, &op);
    if (f->carry) j->r = j->whole;
}

/* What the factors leave out of it: into the carry, if there is one, and if there are numbers to carry. */
static void hyb_lowrank_rest(const hyb_lowrank *f, const hyb_lowrank_job *j)
{
    hyb_op_deflate op;
    memset(&op, 0, sizeof op);
    op.x = j->r;
    op.left = j->left;
    op.sigma = j->sigma;
    op.right = j->right;
    op.rows = f->rows;
    op.cols = f->cols;
    op.rank = f->rank;
    op.rest = f->carry;
    op.bound = &j->squares[0];
    op.most = HYB_LOWRANK_LARGEST * HYB_LOWRANK_LARGEST;
    op.squares = &j->squares[1];
    hyb_do_deflate(j->be, &op);
}

/* What came of it, on the host, which waits for a norm, and then for the factors. HYBRID_ERROR_NUMERIC: r was not to be
 * used. */
static hybrid_result hyb_lowrank_fetch(hyb_lowrank *f, const hyb_lowrank_job *j, hybrid_error *error)
{
    hyb_backend *be = j->be;
    double squares[2] = { 0, 0 };
    hybrid_result r;
    be->ops->read(be, squares, j->squares, sizeof squares);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    if (!(sqrt(squares[0]) < HYB_LOWRANK_LARGEST))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "a residual of %lld x %lld weights has the norm %g and is left out: the weights after the "
                        "episode are not finite, which a roll-back mends",
                        (long long)f->rows, (long long)f->cols, sqrt(squares[0]));
    be->ops->read(be, f->left, j->left, sizeof *f->left * (size_t)(f->rows * f->rank));
    be->ops->read(be, f->right, j->right, sizeof *f->right * (size_t)(f->cols * f->rank));
    be->ops->read(be, f->sigma, j->sigma, sizeof *f->sigma * (size_t)f->rank);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    f->norm = sqrt(squares[0]);
    f->discarded = sqrt(squares[1]);
    return HYBRID_OK;
}

/* The factors become those of r (rows, cols) and of what was carried to it. r, work (of hyb_lowrank_work, aligned to 64
 * bytes) and the carry are memory of the back end, which is the host's or a GPU's. HYBRID_ERROR_NUMERIC: r has values
 * that are not finite, or beyond all use; nothing has been changed. Should the back end fail, r is lost. */
static hybrid_result hyb_lowrank_add(hyb_lowrank *f, hyb_backend *be, const float *r, void *work, hybrid_error *error)
{
    hyb_lowrank_job j;
    hybrid_result result;
    memset(&j, 0, sizeof j);
    hyb_lowrank_place(f, work, &j);
    j.be = be;
    j.r = r;
    j.rows = f->rows;
    j.cols = f->cols;
    j.side = f->side;
    hyb_lowrank_begin(f, &j);
    hyb_lowrank_whole(f, &j);
    hyb_lowrank_search(&j);
    hyb_lowrank_factors(f, &j);
    hyb_lowrank_rest(f, &j);
    if ((result = hyb_lowrank_fetch(f, &j, error)) != HYBRID_OK) return result;
    f->n++;
    f->bytes_whole += sizeof(float) * (uint64_t)(f->rows * f->cols);
    f->bytes_kept += sizeof(float) * (uint64_t)hyb_lowrank_kept(f);
    return HYBRID_OK;
}

/* Left, sigma and right, one after the other, into out (hyb_lowrank_kept); where the next factors go. */
static float *hyb_lowrank_copy(const hyb_lowrank *f, float *out)
{
    const size_t left = (size_t)(f->rows * f->rank), right = (size_t)(f->cols * f->rank), sigma = (size_t)f->rank;
    memcpy(out, f->left, sizeof *out * left);
    memcpy(out + left, f->sigma, sizeof *out * sigma);
    memcpy(out + left + sigma, f->right, sizeof *out * right);
    return out + left + sigma + right;
}

/* Bytes that factors save over the matrices themselves, of all so far; negative where they do not. */
static int64_t hyb_lowrank_saved(const hyb_lowrank *f) { return (int64_t)f->bytes_whole - (int64_t)f->bytes_kept; }

static void hyb_lowrank_walk(hyb_lowrank *f, hyb_byte_walk *w)
{
    hyb_walk_same(w, f->rows);
    hyb_walk_same(w, f->cols);
    hyb_walk_same(w, f->rank);
    hyb_walk_same(w, f->carry != NULL && !f->apart);
    HYB_WALK(w, f->seed);
    hyb_walk_bytes(w, f->left, sizeof *f->left * (size_t)(f->rows * f->rank));
    hyb_walk_bytes(w, f->right, sizeof *f->right * (size_t)(f->cols * f->rank));
    hyb_walk_bytes(w, f->sigma, sizeof *f->sigma * (size_t)f->rank);
    if (f->carry && !f->apart) hyb_walk_bytes(w, f->carry, sizeof *f->carry * (size_t)(f->rows * f->cols));
    HYB_WALK(w, f->n);
    HYB_WALK(w, f->norm);
    HYB_WALK(w, f->discarded);
    HYB_WALK(w, f->bytes_whole);
    HYB_WALK(w, f->bytes_kept);
}
#endif
