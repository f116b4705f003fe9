/* Parts of the predictor that need no model: low-rank factors, the store of residuals, the correctors, tuning, recovery
 * and the accumulator, each held to numbers that are found here in another way. */
#include "private.h"

/* ---- random numbers, algebra in double --------------------------------------------------------------------------- */

static uint64_t random_at;
static double uniform(void) { return hyb_random_uniform(77, 5, random_at++); }
static double normal(void)
{
    double sum = 0;
    int i;
    for (i = 0; i < 12; i++) sum += uniform();
    return sum - 6;
}

/* Singular values of a (rows, cols), rows >= cols, the largest first: one-sided Jacobi (Hestenes). a is spoilt. */
static void singular_values(double *a, int rows, int cols, double *s)
{
    int sweep, p, q, i;
    for (sweep = 0; sweep < 60; sweep++) {
        double worst = 0;
        for (p = 0; p < cols; p++)
            for (q = p + 1; q < cols; q++) {
                double pp = 0, qq = 0, pq = 0, theta, t, c;
                for (i = 0; i < rows; i++) {
                    pp += a[i * cols + p] * a[i * cols + p];
                    qq += a[i * cols + q] * a[i * cols + q];
                    pq += a[i * cols + p] * a[i * cols + q];
                }
                if (fabs(pq) <= 1e-15 * sqrt(pp * qq) || pq == 0) continue;
                worst = HYB_MAX(worst, fabs(pq) / sqrt(pp * qq));
                theta = (qq - pp) / (2 * pq);
                t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                c = 1 / sqrt(t * t + 1);
                for (i = 0; i < rows; i++) {
                    const double x = a[i * cols + p], y = a[i * cols + q];
                    a[i * cols + p] = c * x - t * c * y;
                    a[i * cols + q] = t * c * x + c * y;
                }
            }
        if (worst < 1e-13) break;
    }
    for (p = 0; p < cols; p++)
        for (s[p] = 0, i = 0; i < rows; i++) s[p] += a[i * cols + p] * a[i * cols + p];
    for (p = 0; p < cols; p++) s[p] = sqrt(s[p]);
    for (p = 0; p < cols; p++)
        for (q = p + 1; q < cols; q++)
            if (s[q] > s[p]) {
                const double x = s[p];
                s[p] = s[q];
                s[q] = x;
            }
}

/* The smallest error that rank r leaves (Eckart and Young). */
static double best_error(const float *m, int rows, int cols, int r)
{
    const int n = HYB_MIN(rows, cols);
    double *a = (double *)malloc(sizeof *a * (size_t)(rows * cols)), s[128], sum = 0;
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++)
            if (rows >= cols)
                a[i * cols + j] = (double)m[i * cols + j];
            else
                a[j * rows + i] = (double)m[i * cols + j];
    singular_values(a, HYB_MAX(rows, cols), n, s);
    for (i = n - 1; i >= r; i--) sum += s[i] * s[i];
    free(a);
    return sqrt(sum);
}

/* n orthonormal columns of a (rows, n): Gram and Schmidt, twice. */
static void random_basis(double *a, int rows, int n)
{
    int i, j, k, round;
    for (i = 0; i < rows * n; i++) a[i] = normal();
    for (j = 0; j < n; j++)
        for (round = 0; round < 2; round++) {
            double length = 0;
            for (k = 0; k < j; k++) {
                double dot = 0;
                for (i = 0; i < rows; i++) dot += a[i * n + k] * a[i * n + j];
                for (i = 0; i < rows; i++) a[i * n + j] -= dot * a[i * n + k];
            }
            for (i = 0; i < rows; i++) length += a[i * n + j] * a[i * n + j];
            for (i = 0; i < rows; i++) a[i * n + j] /= sqrt(length);
        }
}

/* A matrix of floats with such singular values (n of them, n the shorter side). */
static void with_spectrum(float *m, int rows, int cols, const double *s)
{
    const int n = HYB_MIN(rows, cols);
    double *u = (double *)malloc(sizeof *u * (size_t)(rows * n)), *v = (double *)malloc(sizeof *v * (size_t)(cols * n));
    int i, j, k;
    random_basis(u, rows, n);
    random_basis(v, cols, n);
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++) {
            double sum = 0;
            for (k = 0; k < n; k++) sum += u[i * n + k] * s[k] * v[j * n + k];
            m[i * cols + j] = (float)sum;
        }
    free(u);
    free(v);
}

/* ---- checkpoints of parts ---------------------------------------------------------------------------------------- */

typedef void (*walk_fn)(void *part, hyb_byte_walk *w);

/* What a part remembers goes into another one that was made in the same way. The bytes that are read must be those that
 * were written: all of them, and neither more nor fewer are taken. */
static bool walk_over(walk_fn walk, void *from, void *to)
{
    hyb_byte_walk w;
    unsigned char *bytes;
    size_t n;
    bool ok;
    memset(&w, 0, sizeof w);
    walk(from, &w);
    n = w.n;
    bytes = (unsigned char *)malloc(n + 1);
    memset(&w, 0, sizeof w);
    w.at = bytes;
    w.size = n;
    walk(from, &w);
    ok = !w.failed && w.n == n;
    memset(&w, 0, sizeof w);
    w.at = bytes;
    w.size = n - 1;
    w.reads = true;
    walk(to, &w);
    ok = ok && w.failed; /* a byte is missing */
    memset(&w, 0, sizeof w);
    w.at = bytes;
    w.size = n;
    w.reads = true;
    walk(to, &w);
    ok = ok && !w.failed && w.n == n;
    free(bytes);
    return ok;
}

/* ---- low rank ---------------------------------------------------------------------------------------------------- */

static hyb_backend *host_backend(const char *isa, int n_threads)
{
    hybrid_runtime_desc desc;
    hyb_limits limits;
    hybrid_runtime *rt = NULL;
    hyb_backend *be = NULL;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = isa;
    desc.n_threads = n_threads;
    desc.device = "cpu";
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "no runtime");
    limits.n_train = 1;
    CHECK(hyb_cpu_backend_create(rt, &limits, &be, NULL) == HYBRID_OK, "no back end");
    hybrid_runtime_destroy(rt);
    return be;
}

/* Factors with their memory. */
typedef struct factors {
    hyb_lowrank f;
    void *memory, *work;
} factors;

static hybrid_runtime *host; /* whose memory the tests use */
static void *aligned(size_t bytes)
{
    void *p = hyb_alloc_aligned(host, bytes);
    if (!p) exit(1);
    memset(p, 0xA5, bytes);
    return p;
}
static void factors_make(factors *x, int rows, int cols, int rank, bool carries)
{
    x->memory = aligned(hyb_lowrank_bytes(rows, cols, rank, carries));
    hyb_lowrank_init(&x->f, rows, cols, rank, carries, 3, x->memory);
    x->work = aligned(hyb_lowrank_work(&x->f));
}
static void factors_free(factors *x)
{
    hyb_free_aligned(host, x->memory);
    hyb_free_aligned(host, x->work);
}
static void walk_factors(void *part, hyb_byte_walk *w) { hyb_lowrank_walk((hyb_lowrank *)part, w); }

/* What the factors stand for, and how far it is from m. */
static double value_of(const hyb_lowrank *f, int64_t i, int64_t j)
{
    double sum = 0;
    int k;
    for (k = 0; k < f->rank; k++)
        sum += (double)f->left[i * f->rank + k] * (double)f->sigma[k] * (double)f->right[k * f->cols + j];
    return sum;
}
static double error_of(const hyb_lowrank *f, const float *m)
{
    double sum = 0;
    int64_t i, j;
    for (i = 0; i < f->rows; i++)
        for (j = 0; j < f->cols; j++) {
            const double x = (double)m[i * f->cols + j] - value_of(f, i, j);
            sum += x * x;
        }
    return sqrt(sum);
}

static void fill_spectrum(int kind, int n, double *s)
{
    int i;
    for (i = 0; i < n; i++) {
        const double k = i + 1;
        s[i] = kind == 0   ? pow(0.5, i)
               : kind == 1 ? pow(0.9, i)
               : kind == 2 ? 1 / k
               : kind == 3 ? 1 / sqrt(k)
               : kind == 4 ? (i < 4 ? 1 : 0.1)
               : kind == 5 ? 1
               : kind == 6 ? pow(10, -i)
               : kind == 7 ? (i < 12 ? 1 : 0.01) /* more that are large than are kept */
                           : (i < 4 ? 1e4 : 1);
    }
}

static void test_spectra(hyb_backend *be)
{
    static const int shapes[][2] = { { 60, 40 }, { 40, 60 }, { 97, 64 }, { 300, 48 }, { 33, 100 } };
    double worst = 0;
    int shape, kind, rank;
    TEST("error against the best of its rank");
    for (shape = 0; shape < (int)HYB_COUNT(shapes); shape++)
        for (kind = 0; kind < 9; kind++) {
            const int rows = shapes[shape][0], cols = shapes[shape][1], n = HYB_MIN(rows, cols);
            float *m = (float *)malloc(sizeof *m * (size_t)(rows * cols));
            double s[128];
            fill_spectrum(kind, n, s);
            with_spectrum(m, rows, cols, s);
            for (rank = 1; rank <= 8; rank *= rank == 1 ? 4 : 2) {
                const double best = best_error(m, rows, cols, rank);
                double error;
                factors x;
                factors_make(&x, rows, cols, rank, false);
                CHECK(!hyb_lowrank_add(&x.f, be, m, x.work, NULL), "refused");
                error = error_of(&x.f, m);
                CHECK(error <= 1.05 * best + 3e-7 * s[0], "%d x %d, spectrum %d, rank %d: %g, best %g", rows, cols,
                      kind, rank, error, best);
                CHECK(fabs(x.f.discarded - error) <= 1e-9 * s[0], "says %g of %g", x.f.discarded, error);
                if (best > 1e-6 * s[0]) worst = HYB_MAX(worst, error / best);
                factors_free(&x);
            }
            free(m);
        }
    printf("low rank: error at most %.4f of the best\n", worst);
}

/* Columns as orthonormal as floats are, also where they depend on each other. */
static void test_orthogonal(void)
{
    enum { ROWS = 70, N = 6 };
    float y[ROWS * N];
    double g[N * N];
    int kind, i, j;
    TEST("orthonormal columns");
    for (kind = 0; kind < 6; kind++) {
        const double close = kind == 0 ? 1 : kind == 1 ? 1e-3 : kind == 2 ? 1e-6 : kind == 3 ? 3e-8 : 0;
        for (i = 0; i < ROWS; i++) {
            const double first = normal();
            for (j = 0; j < N; j++) y[i * N + j] = (float)(first + close * normal());
            if (kind == 5) y[i * N + 2] = 0;
        }
        hyb_orthogonal(y, ROWS, N, g);
        hyb_gram(y, ROWS, N, g);
        for (i = 0; i < N; i++)
            for (j = 0; j < N; j++) {
                const double want = i == j ? 1 : 0;
                CHECK(fabs(g[i * N + j] - want) < 1e-5 || (kind >= 4 && (g[i * N + i] == 0 || g[j * N + j] == 0)),
                      "kind %d: columns %d and %d: %g", kind, i, j, g[i * N + j]);
            }
        CHECK(fabs(g[0] - 1) < 1e-6, "the first column is lost");
    }
}

/* a v = v e, with orthonormal v, whatever a is. */
static void test_eigenvalues(void)
{
    enum { N = 24 };
    static double a[N * N], e[N * N], v[N * N];
    int kind, i, j, k;
    TEST("eigenvalues");
    for (kind = 0; kind < 4; kind++) {
        for (i = 0; i < N; i++)
            for (j = 0; j <= i; j++)
                a[i * N + j] = a[j * N + i] = kind == 0   ? normal()
                                              : kind == 1 ? (i == j ? 1.0 : 0.0)
                                              : kind == 2 ? 1.0
                                                          : pow(10, -0.5 * (i + j)) * normal();
        memcpy(e, a, sizeof e);
        hyb_jacobi(e, v, N);
        for (i = 0; i < N; i++) {
            CHECK(!i || e[i * N + i] <= e[(i - 1) * N + i - 1], "kind %d: value %d is larger than the one before", kind,
                  i);
            for (j = 0; j < N; j++) {
                double left = 0, dot = 0;
                for (k = 0; k < N; k++) {
                    left += a[i * N + k] * v[k * N + j];
                    dot += v[k * N + i] * v[k * N + j];
                }
                CHECK(fabs(left - v[i * N + j] * e[j * N + j]) < 1e-13 * N, "kind %d: %d, %d", kind, i, j);
                CHECK(fabs(dot - (i == j ? 1 : 0)) < 1e-13, "kind %d: vectors %d, %d: %g", kind, i, j, dot);
            }
        }
    }
}

/* Matrices of which there is less than is asked for. */
static void test_little(hyb_backend *be)
{
    static const int shapes[][2] = { { 1, 1 }, { 1, 9 }, { 9, 1 }, { 3, 40 }, { 40, 3 }, { 30, 20 } };
    int shape, kind, i, j, k;
    TEST("matrices of low rank");
    for (shape = 0; shape < (int)HYB_COUNT(shapes); shape++)
        for (kind = 0; kind < 5; kind++) {
            const int rows = shapes[shape][0], cols = shapes[shape][1];
            float *m = (float *)malloc(sizeof *m * (size_t)(rows * cols));
            double norm = 0;
            factors x;
            for (i = 0; i < rows; i++)
                for (j = 0; j < cols; j++)
                    m[i * cols + j] = kind == 0   ? 0.0f
                                      : kind == 1 ? 1.0f
                                      : kind == 2 ? (float)((i % 3) - (j % 2))
                                      : kind == 3 ? (j == cols / 2 ? (float)i - 3 : 0)       /* one column */
                                                  : 1e-30f * (float)((i % 3) - 2 * (j % 2)); /* very small */
            for (i = 0; i < rows * cols; i++) norm += (double)m[i] * (double)m[i];
            factors_make(&x, rows, cols, 0, true);
            for (k = 0; k < 3; k++) CHECK(!hyb_lowrank_add(&x.f, be, m, x.work, NULL), "refused");
            CHECK(x.f.discarded <= 1e-6 * sqrt(norm), "%d x %d, kind %d: %g of %g is left", rows, cols, kind,
                  x.f.discarded, sqrt(norm));
            for (i = 0; i < x.f.rank; i++) CHECK(x.f.sigma[i] >= 0, "sigma %d: %g", i, (double)x.f.sigma[i]);
            CHECK(x.f.rank == HYB_MIN(4, HYB_MIN(rows, cols)), "rank %d", x.f.rank);
            factors_free(&x);
            free(m);
        }
}

/* What is left out is added to the next: nothing is lost, and the carry does not grow without end. */
static void test_carry(hyb_backend *be)
{
    enum { ROWS = 48, COLS = 36, N = 60 };
    static double given[ROWS * COLS], got[ROWS * COLS];
    static float m[ROWS * COLS];
    double s[COLS], worst = 0, largest = 0, first = 0;
    factors x, forgets;
    int t, i;
    TEST("error feedback");
    factors_make(&x, ROWS, COLS, 4, true);
    factors_make(&forgets, ROWS, COLS, 4, false);
    for (t = 0; t < N; t++) {
        for (i = 0; i < COLS; i++) s[i] = pow(0.8, i);
        if (!t) with_spectrum(m, ROWS, COLS, s);
        CHECK(!hyb_lowrank_add(&x.f, be, m, x.work, NULL) && !hyb_lowrank_add(&forgets.f, be, m, forgets.work, NULL),
              "refused");
        for (i = 0; i < ROWS * COLS; i++) {
            given[i] += (double)m[i];
            got[i] += value_of(&x.f, i / COLS, i % COLS);
        }
        if (!t) first = x.f.discarded;
        largest = HYB_MAX(largest, x.f.discarded);
    }
    for (i = 0; i < ROWS * COLS; i++) worst = HYB_MAX(worst, fabs(given[i] - got[i] - (double)x.f.carry[i]));
    CHECK(worst < 1e-4, "%g is neither in the factors nor carried", worst);
    CHECK(largest < 8 * first && forgets.f.discarded > 0.99 * first, "%g is carried, of %g", largest, first);
    CHECK(hyb_lowrank_saved(&x.f) == (int64_t)N * 4 * (ROWS * COLS - 4 * (ROWS + COLS + 1)), "%lld bytes are saved",
          (long long)hyb_lowrank_saved(&x.f));
    factors_free(&x);
    factors_free(&forgets);
}

/* The search that begins where the last one ended comes nearer, on a spectrum that is hard for a single one. */
static void test_warm(hyb_backend *be)
{
    enum { ROWS = 200, COLS = 120 };
    static float m[ROWS * COLS];
    double s[COLS], cold = 0, warm = 0, best;
    factors x;
    int t, i;
    TEST("warm start");
    for (i = 0; i < COLS; i++) s[i] = pow((double)(i + 1), -0.25);
    with_spectrum(m, ROWS, COLS, s);
    best = best_error(m, ROWS, COLS, 4);
    factors_make(&x, ROWS, COLS, 4, false);
    for (t = 0; t < 12; t++) {
        CHECK(!hyb_lowrank_add(&x.f, be, m, x.work, NULL), "refused");
        warm = error_of(&x.f, m) / best - 1;
        if (!t) cold = warm;
    }
    CHECK(cold < 0.05 && warm < 0.2 * cold, "%g at first, %g in the end, above the best", cold, warm);
    factors_free(&x);
}

/* Bits depend on neither threads nor the instruction set; a checkpoint goes on with the same ones; what cannot be used
 * changes nothing. */
static void test_bits(void)
{
    enum { ROWS = 130, COLS = 70 };
    static float m[ROWS * COLS];
    static const struct {
        const char *isa;
        int threads;
    } ways[] = { { "generic", 1 }, { "generic", 4 }, { NULL, 1 }, { NULL, 3 } };
    factors x[4], again;
    double s[COLS];
    size_t bytes;
    hybrid_error e;
    int i, t;
    fill_spectrum(1, COLS, s);
    with_spectrum(m, ROWS, COLS, s);
    for (i = 0; i < 4; i++) {
        hyb_backend *be = host_backend(ways[i].isa, ways[i].threads);
        factors_make(&x[i], ROWS, COLS, 4, true);
        for (t = 0; t < 3; t++) CHECK(!hyb_lowrank_add(&x[i].f, be, m, x[i].work, NULL), "refused");
        TEST("the same bits");
        bytes = hyb_lowrank_bytes(ROWS, COLS, 4, true);
        CHECK(!memcmp(x[0].memory, x[i].memory, bytes), "%d threads, %s", ways[i].threads,
              ways[i].isa ? ways[i].isa : "the best");
        if (i == 3) {
            TEST("checkpoint of factors");
            factors_make(&again, ROWS, COLS, 4, true);
            CHECK(walk_over(walk_factors, &x[3].f, &again.f), "not read as it was written");
            for (t = 0; t < 2; t++)
                CHECK(!hyb_lowrank_add(&x[3].f, be, m, x[3].work, NULL) &&
                          !hyb_lowrank_add(&again.f, be, m, again.work, NULL),
                      "refused");
            CHECK(!memcmp(x[3].memory, again.memory, bytes) && again.f.n == 5, "it goes on in another way");
            TEST("values that cannot be used");
            m[77] = NAN;
            CHECK(hyb_lowrank_add(&again.f, be, m, again.work, &e) == HYBRID_ERROR_NUMERIC &&
                      strstr(e.message, "roll-back"),
                  "%s", e.message);
            m[77] = 3e38f;
            CHECK(hyb_lowrank_add(&again.f, be, m, again.work, &e) == HYBRID_ERROR_NUMERIC, "it was taken");
            CHECK(!memcmp(x[3].memory, again.memory, bytes) && again.f.n == 5, "something was changed");
            factors_free(&again);
            factors_make(&again, COLS, ROWS, 4, true); /* as many bytes */
            CHECK(!walk_over(walk_factors, &x[3].f, &again.f), "factors of another shape were read");
            factors_free(&again);
        }
        be->ops->destroy(be);
    }
    for (i = 0; i < 4; i++) factors_free(&x[i]);
}

int main(void)
{
    hyb_backend *be = host_backend(NULL, 2);
    host = be->rt;
    test_orthogonal();
    test_eigenvalues();
    test_spectra(be);
    test_little(be);
    test_carry(be);
    test_warm(be);
    test_bits();
    be->ops->destroy(be);
    return test_end();
}
