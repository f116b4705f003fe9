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

/* The smallest error that rank r leaves (Eckart and Young), of singular values. */
static double best_of(const double *s, int n, int r)
{
    double sum = 0;
    while (n-- > r) sum += s[n] * s[n];
    return sqrt(sum);
}
static void singular_values_of(const float *m, int rows, int cols, double *s)
{
    const int n = HYB_MIN(rows, cols);
    double *a = (double *)malloc(sizeof *a * (size_t)(rows * cols));
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++)
            if (rows >= cols)
                a[i * cols + j] = (double)m[i * cols + j];
            else
                a[j * rows + i] = (double)m[i * cols + j];
    singular_values(a, HYB_MAX(rows, cols), n, s);
    free(a);
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
            singular_values_of(m, rows, cols, s);
            for (rank = 1; rank <= 8; rank *= rank == 1 ? 4 : 2) {
                const double best = best_of(s, n, rank);
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
    best = best_of(s, COLS, 4);
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

/* ---- residuals --------------------------------------------------------------------------------------------------- */

enum { DIM = 60 };

/* The four directions, the sums of their products, and a vector's with them. */
enum { N_DIR = HYB_N_DIRECTIONS };
static double dir[N_DIR][DIM], gram[HYB_N_GRAM];
static double dot(const double *a, const double *b)
{
    double sum = 0;
    int i;
    for (i = 0; i < DIM; i++) sum += a[i] * b[i];
    return sum;
}
static void draw_directions(void)
{
    int i, j, k = 0;
    for (i = 0; i < DIM; i++) {
        dir[0][i] = normal();
        dir[1][i] = 3 * normal() + 2 * dir[0][i];
        dir[2][i] = 0.1 * normal() + 0.05 * dir[1][i];
        dir[3][i] = 0.01 * normal();
    }
    for (i = 0; i < N_DIR; i++)
        for (j = i; j < N_DIR; j++) gram[k++] = dot(dir[i], dir[j]);
}
static void combine(const double *c, double *out)
{
    int i;
    for (i = 0; i < DIM; i++) out[i] = c[0] * dir[0][i] + c[1] * dir[1][i] + c[2] * dir[2][i] + c[3] * dir[3][i];
}

static void test_fit(void)
{
    static const double none[HYB_N_GRAM] = { 0 }, planted[N_DIR] = { -0.3, 0.4, 1.5, 7 };
    double change[DIM], dots[N_DIR], c[N_DIR], spoilt[HYB_N_GRAM];
    int i, j;
    TEST("least squares");
    draw_directions();
    combine(planted, change);
    for (i = 0; i < N_DIR; i++) dots[i] = dot(change, dir[i]);
    CHECK(hyb_fit(gram, dots, c), "no fit");
    for (i = 0; i < N_DIR; i++) CHECK(fabs(c[i] - planted[i]) < 0.02 * fabs(planted[i]), "c %d: %g", i, c[i]);
    for (i = 0; i < DIM; i++) change[i] += normal();
    for (i = 0; i < N_DIR; i++) dots[i] = dot(change, dir[i]);
    CHECK(hyb_fit(gram, dots, c), "no fit");
    for (i = 0; i < N_DIR; i++) { /* the equations hold */
        double left = HYB_FIT_RIDGE * c[i] * dot(dir[i], dir[i]);
        for (j = 0; j < N_DIR; j++) left += c[j] * dot(dir[i], dir[j]);
        CHECK(fabs(left - dots[i]) < 1e-9 * (1 + fabs(dots[i])), "equation %d: %g, not %g", i, left, dots[i]);
    }
    CHECK(!hyb_fit(none, dots, c) && c[0] == 0 && c[1] == 0 && c[2] == 0 && c[3] == 0, "a fit to nothing");
    memcpy(spoilt, gram, sizeof spoilt);
    for (i = 2; i < HYB_N_GRAM; i++)
        if (i != 4) spoilt[i] = 0; /* there are neither s nor r */
    dots[2] = dots[3] = 0;
    CHECK(hyb_fit(spoilt, dots, c) && c[3] == 0 && c[2] == 0 && c[0] != 0, "without s and r: %g %g %g", c[0], c[1],
          c[2]);
    spoilt[1] = 2 * spoilt[0]; /* b is twice d */
    spoilt[4] = 4 * spoilt[0];
    dots[1] = 2 * dots[0];
    CHECK(hyb_fit(spoilt, dots, c) && fabs((c[0] + 2 * c[1]) * spoilt[0] / dots[0] - 1) < 2e-3, "of one line: %g %g",
          c[0], c[1]);
    spoilt[0] = NAN;
    CHECK(!hyb_fit(spoilt, dots, c) || (c[0] == 0 && hyb_is_finite(c[1])), "from what is no number");
    dots[1] = HUGE_VAL;
    CHECK(!hyb_fit(gram, dots, c) && c[0] == 0 && c[1] == 0 && c[2] == 0, "from what is infinite");
}

static hyb_residual some_residual(int64_t step)
{
    hyb_residual r;
    int i;
    memset(&r, 0, sizeof r);
    r.step = step;
    r.phase = HYB_PHASE_PREDICT;
    r.horizon = 32;
    r.loss = 0.1 * normal();
    r.confidence = uniform();
    for (i = 0; i < HYB_N_GROUPS; i++) {
        r.magnitude[i] = (float)uniform();
        r.cosine[i] = i < 4 ? (float)(2 * uniform() - 1) : 0.0f;
    }
    for (i = 0; i < HYB_N_FEATURES; i++) r.features[i] = (float)normal();
    return r;
}

/* Coefficients, size and angle of a group, against the vectors themselves. */
static void test_residual(void)
{
    static const double predicted[N_DIR] = { -0.3, 0.35, 0, 0 }, nothing[N_DIR] = { 0 };
    double delta[DIM], rest[DIM], came[DIM], dots[N_DIR], want;
    hyb_residual r;
    int i;
    TEST("a residual");
    memset(&r, 0, sizeof r);
    draw_directions();
    combine(predicted, delta);
    for (i = 0; i < DIM; i++) {
        rest[i] = normal() + 0.5 * dir[1][i];
        came[i] = delta[i] + rest[i];
    }
    for (i = 0; i < N_DIR; i++) dots[i] = dot(rest, dir[i]);
    hyb_residual_group(&r, 5, gram, dots, dot(rest, rest), predicted);
    want = dot(delta, came) / sqrt(dot(delta, delta) * dot(came, came));
    CHECK(fabs((double)r.cosine[5] - want) < 1e-6, "cosine %g, not %g", (double)r.cosine[5], want);
    CHECK(fabs((double)r.magnitude[5] - sqrt(dot(rest, rest))) < 1e-5, "magnitude %g", (double)r.magnitude[5]);
    CHECK(fabs((double)r.c[5][1] - 0.5) < 0.2, "c_b %g", (double)r.c[5][1]);
    for (i = 0; i < N_DIR; i++) dots[i] = dot(came, dir[i]); /* nothing was predicted: no angle */
    hyb_residual_group(&r, 4, gram, dots, dot(came, came), nothing);
    CHECK(r.cosine[4] == 0 && r.magnitude[4] > 0, "cosine %g", (double)r.cosine[4]);
    CHECK(hyb_residual_finite(&r), "it is not finite");
    dots[1] = NAN;
    hyb_residual_group(&r, 4, gram, dots, dot(came, came), predicted);
    CHECK(!hyb_residual_finite(&r), "what is no number became one");
    hyb_residual_group(&r, 4, gram, dots, NAN, nothing);
    CHECK(!hyb_residual_finite(&r), "what is no number became one");
}

static void walk_residuals(void *part, hyb_byte_walk *w) { hyb_residuals_walk((hyb_residuals *)part, w); }

typedef struct store {
    hyb_residuals s;
    void *memory;
} store;
static void store_make(store *x, int32_t room, int64_t factor_floats, int64_t n_factors)
{
    x->memory = aligned(hyb_residuals_bytes(room, factor_floats, n_factors));
    hyb_residuals_init(&x->s, room, factor_floats, n_factors, x->memory);
}

static void test_similar(const hyb_residuals *s)
{
    hyb_similar got[12];
    float features[HYB_N_FEATURES];
    int i, k, n, better, as_good;
    for (i = 0; i < HYB_N_FEATURES; i++) features[i] = (float)normal();
    n = hyb_residuals_similar(s, features, 12, got);
    CHECK(n == 12, "%d similar ones", n);
    for (i = 0; i < n; i++) {
        const double c = hyb_features_cosine(got[i].residual->features, features);
        CHECK(got[i].cosine == c && (!i || c <= got[i - 1].cosine), "number %d: %g", i, c);
        for (better = as_good = 0, k = 0; k < s->n; k++) {
            const double other = hyb_features_cosine(hyb_residuals_recent(s, k)->features, features);
            better += other > c;
            as_good += other >= c;
        }
        CHECK(better <= i && as_good > i, "number %d: %d are more similar, %d as much", i, better, as_good);
    }
}

static void test_store(void)
{
    enum { FLOATS = 21, KEPT = 3 };
    static hyb_residual all[2500];
    float factors[FLOATS];
    double loss = 0, bias = 0, cosine = 0;
    store x, again, bare;
    hyb_similar two[2];
    hyb_residual_means m;
    hybrid_error e;
    int i, j;
    TEST("the store of residuals");
    store_make(&x, 0, FLOATS, KEPT);
    CHECK(x.s.room == 1000 && !hyb_residuals_recent(&x.s, 0), "room for %d", x.s.room);
    CHECK(hyb_residuals_means(&x.s).loss == 0 && !hyb_residuals_similar(&x.s, all[0].features, 2, two),
          "it is not empty");
    for (i = 0; i < 2500; i++) {
        all[i] = some_residual(i * 20);
        all[i].factors = 2400; /* the store's business */
        if (i == 2499) memcpy(all[i].features, all[2498].features, sizeof all[i].features);
        for (j = 0; j < FLOATS; j++) factors[j] = (float)(i + j);
        CHECK(!hyb_residuals_add(&x.s, &all[i], i % 2 ? factors : NULL, NULL), "refused");
    }
    for (i = 0; i < 1000; i++) {
        const hyb_residual *r = hyb_residuals_recent(&x.s, i);
        const float *f = hyb_residuals_factors(&x.s, r);
        CHECK(r && r->step == all[2499 - i].step, "number %d", i);
        CHECK(i < 6 && !(i % 2) ? f && f[0] == (float)(2499 - i) && f[20] == (float)(2519 - i) : !f,
              "number %d: factors of another", i);
        for (j = 0; j < 4; j++) cosine += (double)all[2499 - i].cosine[j] / 4000;
        loss += fabs(all[2499 - i].loss) / 1000;
        bias += all[2499 - i].loss / 1000;
    }
    CHECK(!hyb_residuals_recent(&x.s, 1000) && !hyb_residuals_recent(&x.s, -1), "there are more than a thousand");
    m = hyb_residuals_means(&x.s);
    CHECK(fabs(m.loss - loss) < 1e-12 && fabs(m.bias - bias) < 1e-12 && fabs(m.confidence - 0.5) < 0.05 &&
              m.magnitude > 1 && fabs(m.cosine - cosine) < 1e-9,
          "means %g %g %g %g %g", m.loss, m.bias, m.confidence, m.magnitude, m.cosine);
    test_similar(&x.s);
    CHECK(hyb_residuals_similar(&x.s, all[2498].features, 2, two) == 2 && two[0].residual->step == all[2499].step &&
              two[1].residual->step == all[2498].step && fabs(two[0].cosine - 1) < 1e-12,
          "the newer of two of a kind comes first");
    CHECK(!hyb_residuals_similar(&x.s, all[0].features, 0, two), "none was asked for");

    TEST("checkpoint of residuals");
    store_make(&again, 0, FLOATS, KEPT);
    store_make(&bare, 0, 0, 0);
    CHECK(walk_over(walk_residuals, &x.s, &again.s), "not read as it was written");
    CHECK(again.s.n == 1000 && again.s.total == 2500 && !memcmp(x.s.at, again.s.at, sizeof *x.s.at * 1000) &&
              !memcmp(x.s.factors, again.s.factors, sizeof(float) * FLOATS * KEPT),
          "it is another");
    CHECK(walk_over(walk_residuals, &x.s, &bare.s), "not read without factors");
    CHECK(bare.s.n == 1000 && hyb_residuals_recent(&bare.s, 3)->loss == hyb_residuals_recent(&x.s, 3)->loss &&
              !hyb_residuals_factors(&bare.s, hyb_residuals_recent(&bare.s, 0)),
          "factors from nowhere");
    hyb_free_aligned(host, bare.memory);
    store_make(&bare, 999, 0, 0);
    CHECK(!walk_over(walk_residuals, &x.s, &bare.s) && bare.s.n == 0, "a store of another size was read");
    again.s.total = again.s.n = 7;
    CHECK(!walk_over(walk_residuals, &again.s, &bare.s) && bare.s.n == 0, "a store of another size was read");
    CHECK(walk_over(walk_residuals, &x.s, &again.s), "not read once more");

    TEST("residuals that are no numbers");
    for (i = 0; i < 5; i++) {
        hyb_residual r = some_residual(3);
        if (i == 0) r.loss = NAN;
        if (i == 1) r.features[63] = HUGE_VALF;
        if (i == 2) r.confidence = 1.5;
        if (i == 3) r.c[7][3] = NAN;
        if (i == 4) r.cosine[0] = -HUGE_VALF;
        CHECK(hyb_residuals_add(&x.s, &r, factors, &e) == HYBRID_ERROR_NUMERIC && strstr(e.message, "step 3"), "%s",
              e.message);
    }
    CHECK(x.s.total == 2500 && !memcmp(x.s.at, again.s.at, sizeof *x.s.at * 1000), "something was changed");
    hyb_free_aligned(host, x.memory);
    hyb_free_aligned(host, again.memory);
    hyb_free_aligned(host, bare.memory);
}

/* ---- correctors -------------------------------------------------------------------------------------------------- */

static void walk_corrector(void *part, hyb_byte_walk *w) { hyb_corrector_walk((hyb_corrector *)part, w); }

static void draw_features(float *x)
{
    int i;
    for (i = 0; i < HYB_N_FEATURES; i++) x[i] = (float)hyb_clamp(normal(), -5, 5);
}

/* Error of corrected coefficients over some episodes that it does not learn from, per direction, root mean square.
 * bias: of direction b; slope: what feature 27 adds to it. */
static double corrected_error(const hyb_corrector *r, double bias, double slope)
{
    float x[HYB_N_FEATURES];
    double sum = 0;
    int i;
    for (i = 0; i < 200; i++) {
        double c[N_DIR] = { -0.3, 0.35, 0.5, 0 };
        draw_features(x);
        hyb_corrector_apply(r, 2, x, 1, c);
        sum += pow(c[1] - 0.35 - hyb_clamp(bias + slope * (double)x[27], -0.35, 0.35), 2);
    }
    return sqrt(sum / 200);
}

static void corrector_learn(hyb_corrector *r, int n, double bias, double slope, double noise)
{
    float x[HYB_N_FEATURES];
    int i;
    for (i = 0; i < n; i++) {
        const double c[N_DIR] = { -0.3, 0.35, 0.5, 0 };
        double best[N_DIR];
        draw_features(x);
        best[0] = c[0] + noise * normal();
        best[1] = c[1] + bias + slope * (double)x[27] + noise * normal();
        best[2] = c[2] + noise * normal();
        best[3] = c[3] + noise * normal();
        CHECK(hyb_corrector_learn(r, 2, x, c, best), "refused");
    }
}

static void test_corrector(void)
{
    static hyb_corrector r, again;
    double error, plain[N_DIR] = { 0 }, unknown[N_DIR] = { 0 };
    float x[HYB_N_FEATURES];
    int i;
    TEST("a planted bias of coefficients");
    hyb_corrector_init(&r);
    error = corrected_error(&r, 0.2, 0);
    CHECK(fabs(error - 0.2) < 1e-9, "it corrects before it knows anything: %g", error);
    corrector_learn(&r, HYB_RLS_QUIET, 0.2, 0, 0.05);
    CHECK(corrected_error(&r, 0.2, 0) == error, "it corrects after %d episodes", HYB_RLS_QUIET);
    corrector_learn(&r, 40 - HYB_RLS_QUIET, 0.2, 0, 0.05);
    error = corrected_error(&r, 0.2, 0);
    CHECK(error < 0.04, "%g of 0.2 is left after 40 episodes", error);
    CHECK(r.after[2] < 0.5 * r.before[2] && r.n[2] == 40 && r.n[1] == 0, "it says %g of %g", r.after[2], r.before[2]);
    corrector_learn(&r, 300, 0.1, 0.08, 0.05);
    error = corrected_error(&r, 0.1, 0.08);
    CHECK(error < 0.03, "%g is left of what a feature says", error);
    corrector_learn(&r, 400, -0.2, 0, 0.05);
    error = corrected_error(&r, -0.2, 0);
    CHECK(error < 0.04, "%g is left after the bias has turned", error);
    draw_features(x);
    x[27] = 0;
    hyb_corrector_apply(&r, 2, x, 1, plain);
    x[27] = NAN;
    hyb_corrector_apply(&r, 2, x, 1, unknown);
    CHECK(!memcmp(plain, unknown, sizeof plain), "a feature that is no number counts");

    TEST("checkpoint of the corrector");
    hyb_corrector_init(&again);
    CHECK(walk_over(walk_corrector, &r, &again), "not read as it was written");
    CHECK(!memcmp(&r, &again, sizeof r), "it is another");

    TEST("noise of coefficients");
    hyb_corrector_init(&r);
    corrector_learn(&r, 2000, 0, 0, 0.1);
    error = corrected_error(&r, 0, 0);
    CHECK(error < 0.04, "corrections of %g out of noise of 0.1", error);
    for (i = 0; i < HYB_N_PHI; i++)
        CHECK(r.p[2][i][i] > 0 && r.p[2][i][i] <= HYB_RLS_MOST / HYB_RLS_KEEP, "P %d: %g", i, r.p[2][i][i]);
}

/* Whatever it is given, it is bounded, and works afterwards. */
static void test_corrector_bounds(void)
{
    static hyb_corrector r;
    static const double odd[] = { 0, 1e200, -1e200, 1e-200, 5 };
    float x[HYB_N_FEATURES];
    double c[N_DIR], best[N_DIR], error;
    int64_t n;
    int i, j, round;
    TEST("bounds of the corrector");
    hyb_corrector_init(&r);
    memset(x, 0, sizeof x);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 3000; i++) { /* the same features again and again: nothing is learnt of the others */
            for (j = 0; j < HYB_N_FEATURES; j++) x[j] = round == 1 ? (i % 2 ? 3e38f : -3e38f) : round == 2 ? NAN : 0;
            for (j = 0; j < N_DIR; j++) c[j] = odd[(i + j) % 5];
            for (j = 0; j < N_DIR; j++) best[j] = -odd[(i + 2 * j + 1) % 5];
            hyb_corrector_learn(&r, 2, x, c, best);
        }
        for (i = 0; i < 200; i++) {
            static const double low[N_DIR] = { -0.6, -0.35, -1, 0 }, high[N_DIR] = { 0, 1.75, 8, 0.5 };
            static const double was[N_DIR] = { -0.3, 0.35, 2, 0.1 };
            memcpy(c, was, sizeof c);
            draw_features(x);
            hyb_corrector_apply(&r, 2, x, 1, c);
            for (j = 0; j < N_DIR; j++)
                CHECK(c[j] >= low[j] && c[j] <= high[j] && fabs(c[j] - was[j]) <= 0.3501, "round %d: c %d is %g", round,
                      j, c[j]);
        }
        for (i = 0; i < HYB_N_PHI; i++)
            CHECK(r.p[2][i][i] > 0 && r.p[2][i][i] <= HYB_RLS_MOST / HYB_RLS_KEEP, "round %d: P %d: %g", round, i,
                  r.p[2][i][i]);
    }
    for (i = 0; i < 60; i++) { /* one side of it */
        draw_features(x);
        for (j = 0; j < N_DIR; j++) best[j] = (c[j] = j == 2 ? 2 : 0) + 1;
        hyb_corrector_learn(&r, 4, x, c, best);
    }
    hyb_corrector_apply(&r, 4, x, 1, c);
    CHECK(fabs(c[2] - 2.35) < 1e-9 && c[0] == 0, "c_s is corrected from 2 to %g, where 3 would be right", c[2]);
    corrector_learn(&r, 600, 0.2, 0, 0.05);
    error = corrected_error(&r, 0.2, 0);
    CHECK(error < 0.05, "afterwards %g of 0.2 is left", error);
    n = r.n[2];
    best[1] = NAN;
    CHECK(!hyb_corrector_learn(&r, 2, x, c, best) && r.n[2] == n && r.refused > 0, "NaN was learnt");
    c[0] = -0.9; /* out of range, and stays so: nothing is wanted */
    hyb_corrector_apply(&r, 2, x, 0, c);
    hyb_corrector_apply(&r, 3, x, 1, c);
    CHECK(c[0] == -0.9, "changed to %g", c[0]);
}

static void walk_loss_corrector(void *part, hyb_byte_walk *w)
{
    hyb_loss_corrector_walk((hyb_loss_corrector *)part, w);
}

/* Residuals of a bias (kind 0), of one that a feature decides (1), of noise (2), of one
 * that two features decide together (3): the error that is left of them when
 * they are corrected, against what there was. */
static double loss_error(int kind, hyb_loss_corrector *c, hyb_residuals *s)
{
    double left = 0, was = 0;
    int i;
    for (i = 0; i < 300; i++) {
        hyb_residual r = some_residual(i * 20);
        const double side = i % 2 ? 1 : -1, other = i / 2 % 2 ? 1 : -1, noise = 0.01 * normal();
        hyb_loss_correction out;
        int j;
        for (j = 0; j < 12; j++) r.features[j] += (float)(3 * side);
        for (j = 12; j < 24; j++) r.features[j] += (float)(3 * other);
        r.loss = kind == 0 ? 0.1 + noise : kind == 1 ? 0.1 * side + noise : kind == 2 ? 10 * noise : 0.1 * side * other;
        r.confidence = 0.8;
        out = hyb_loss_corrector_of(c, s, r.features, r.step, 3.0);
        CHECK(fabs(out.loss) <= 0.6 + 1e-9, "a correction of %g", out.loss);
        if (i >= 100) {
            left += pow(r.loss - out.loss, 2);
            was += r.loss * r.loss;
        }
        CHECK(!hyb_residuals_add(s, &r, NULL, NULL), "refused");
        hyb_loss_corrector_learn(c, &r);
    }
    return sqrt(left / was);
}

static void test_loss_corrector(void)
{
    hyb_loss_corrector c, again;
    hyb_loss_correction out;
    hyb_residual r;
    store x;
    double part;
    int kind, i;
    for (kind = 0; kind < 4; kind++) {
        TEST("corrections of the loss");
        store_make(&x, 0, 0, 0);
        hyb_loss_corrector_init(&c);
        r = some_residual(0);
        CHECK(hyb_loss_corrector_of(&c, &x.s, r.features, 0, 3).confidence == 0,
              "it corrects before it knows anything");
        part = loss_error(kind, &c, &x.s);
        CHECK(part < (kind == 2 ? 1.15 : kind == 3 ? 0.5 : 0.35), "kind %d: %g of the error is left", kind, part);
        if (kind != 2) {
            hyb_free_aligned(host, x.memory);
            continue;
        }
        hyb_loss_corrector_init(&again);
        CHECK(walk_over(walk_loss_corrector, &c, &again) && !memcmp(&c, &again, sizeof c), "checkpoint");
        for (i = 0; i < 400; i++) { /* far too large, and wild */
            r = some_residual(6000 + i);
            r.loss = i % 3 ? 1e9 : -1e9;
            for (part = 0; part < HYB_N_FEATURES; part++) r.features[(int)part] *= 1e18f;
            CHECK(!hyb_residuals_add(&x.s, &r, NULL, NULL), "refused");
            hyb_loss_corrector_learn(&c, &r);
            out = hyb_loss_corrector_of(&c, &x.s, r.features, 7000, 3.0);
            CHECK(fabs(out.loss) <= 0.6 + 1e-9, "a correction of %g", out.loss);
        }
        r.features[2] = NAN;
        out = hyb_loss_corrector_of(&c, &x.s, r.features, 7000, 3.0);
        CHECK(out.loss == 0 && out.confidence == 0, "a correction from what is no number");
        hyb_free_aligned(host, x.memory);
    }
}

/* ---- the accumulator --------------------------------------------------------------------------------------------- */

static void walk_moved(void *part, hyb_byte_walk *w) { hyb_moved_walk((hyb_moved *)part, w); }

static void test_moved(void)
{
    static float sum[DIM], other[DIM], floats[N_DIR][DIM];
    double moved[DIM], all[DIM] = { 0 }, path = 0, squares = 0, along = 0, truth = 0, error = 0;
    static const double spoilt[HYB_N_GRAM] = { NAN, 0, 0, 0, 1, 0, 0, 1, 0, 1 };
    const float *const ones[N_DIR] = { sum, sum, sum, sum };
    static const double factors[N_DIR] = { 1, 1, 1, 1 };
    hyb_moved m, again, out;
    int t, i, j;
    TEST("what predictions have moved");
    hyb_moved_init(&m, sum, DIM);
    for (t = 0; t < 5; t++) {
        const double c[N_DIR] = { -0.3, 0.35 + 0.1 * t, 0.2, t == 2 ? 0.5 : 0 };
        const float *const from[N_DIR] = { floats[0], floats[1], floats[2], t == 2 ? floats[3] : NULL };
        draw_directions();
        combine(c, moved);
        hyb_moved_begin(&m);
        CHECK(hyb_moved_add(&m, 3, c, gram), "refused");
        CHECK(!hyb_moved_add(&m, 3, c, spoilt), "sums that are no numbers were taken");
        for (i = 0; i < N_DIR; i++)
            for (j = 0; j < DIM; j++) floats[i][j] = (float)dir[i][j];
        hyb_moved_add_values(&m, 0, DIM, from, c);
        path += sqrt(dot(moved, moved));
        squares += dot(moved, moved);
        along += dot(moved, dir[0]) / dot(dir[0], dir[0]);
        truth += sqrt(dot(dir[0], dir[0]));
        for (i = 0; i < DIM; i++) all[i] += moved[i];
    }
    for (i = 0; i < DIM; i++) error = HYB_MAX(error, fabs(all[i] - (double)sum[i]));
    CHECK(fabs(m.group[3].path - path) < 1e-9 && fabs(hyb_moved_root(&m.group[3]) - sqrt(squares)) < 1e-9 &&
              fabs(m.group[3].along - along) < 1e-9 && fabs(m.group[3].true_path - truth) < 1e-9,
          "path %g, not %g; along %g, not %g", m.group[3].path, path, m.group[3].along, along);
    CHECK(error < 1e-4 && fabs(hyb_moved_norm(&m, 0, DIM) - sqrt(dot(all, all))) < 1e-3, "sums are off by %g", error);
    CHECK(hyb_moved_norm(&m, 0, DIM) <= m.group[3].path && m.n == 5 && m.group[2].path == 0, "further than its path");
    hyb_moved_init(&again, other, DIM);
    CHECK(walk_over(walk_moved, &m, &again) && !memcmp(sum, other, sizeof sum) &&
              !memcmp(m.group, again.group, sizeof m.group) && again.n == 5,
          "checkpoint");
    hyb_moved_init(&again, NULL, 0);
    CHECK(!walk_over(walk_moved, &m, &again), "sums were read into none");
    hyb_moved_flush(&m, &out);
    CHECK(out.n == 5 && fabs(out.group[3].path - path) < 1e-9 && !out.sum, "what was flushed is another");
    CHECK(m.n == 0 && m.group[3].path == 0 && m.sum == sum && hyb_moved_norm(&m, 0, DIM) == 0, "not all was flushed");
    hyb_moved_init(&m, NULL, 0);
    hyb_moved_add_values(&m, 0, DIM, ones, factors);
    CHECK(hyb_moved_norm(&m, 0, DIM) == 0, "sums from nowhere");
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

typedef struct controller {
    int calls[HYB_RECOVERY_COUNT];
    double amount;
    bool fails;
} controller;
#define HYB_X(name, stronger, text) \
    static bool run_##name(void *user, const hyb_fault *fault, double amount) \
    { \
        controller *c = (controller *)user; \
        c->calls[HYB_RECOVERY_##name]++; \
        c->amount = amount; \
        return !c->fails && fault->step == 1234; \
    }
HYB_RECOVERIES(HYB_X)
#undef HYB_X

static void test_recovery(void)
{
    hyb_recover_ops ops, none;
    int kind, i;
    TEST("recovery");
    memset(&none, 0, sizeof none);
#define HYB_X(name, stronger, text) ops.run[HYB_RECOVERY_##name] = run_##name;
    HYB_RECOVERIES(HYB_X)
#undef HYB_X
    for (kind = 0; kind < HYB_FAULT_COUNT; kind++) {
        const hyb_recovery want = hyb_recovery_of((hyb_fault_kind)kind);
        const bool ends = want == HYB_RECOVERY_ABORT, does = !ends && want != HYB_RECOVERY_GO_ON;
        hyb_fault fault;
        controller c;
        hyb_recovery done;
        hybrid_error e;
        hybrid_result r;
        int calls = 0;
        memset(&fault, 0, sizeof fault);
        memset(&c, 0, sizeof c);
        memset(&e, 0, sizeof e);
        fault.kind = (hyb_fault_kind)kind;
        fault.step = 1234;
        fault.found = 56.5;
        fault.against = 78.25;
        r = hyb_recover(&ops, &c, &fault, &done, &e);
        for (i = 0; i < HYB_RECOVERY_COUNT; i++) calls += c.calls[i];
        CHECK(done == want && (r == HYBRID_OK) == !ends && hyb_recovery_goes_on(done) == !ends, "%s: %s",
              hyb_fault_name(fault.kind), hyb_recovery_text(done));
        CHECK(calls == does && (!does || c.calls[want] == 1), "%s: %d were called", hyb_fault_name(fault.kind), calls);
        CHECK(!does || c.amount == hyb_fault_amount(&fault), "amount %g", c.amount);
        fault.amount = 7;
        hyb_recover(&ops, &c, &fault, &done, NULL);
        CHECK(!does || c.amount == 7, "its own amount is %g", c.amount);
        r = hyb_recover(&none, &c, &fault, &done, &e); /* nothing can be done */
        CHECK((r == HYBRID_OK) == (want == HYB_RECOVERY_GO_ON), "%s without executors", hyb_fault_name(fault.kind));
        c.fails = true;
        r = hyb_recover(&ops, &c, &fault, &done, &e);
        CHECK((r == HYBRID_OK) == (want == HYB_RECOVERY_GO_ON), "%s, and all fail", hyb_fault_name(fault.kind));
        CHECK(!does || (c.calls[want] >= 2 && c.calls[HYB_RECOVERY_ROLL_BACK] >= 1), "%s: no roll-back was tried",
              hyb_fault_name(fault.kind));
        hyb_fault_say(&fault, &e);
        CHECK(strstr(e.message, "step 1234") && strstr(e.message, "56.5") && strstr(e.message, "78.25") &&
                  strchr(e.message, ';') && e.result < 0 && strlen(e.message) < 160,
              "%s", e.message);
    }
    CHECK(hyb_recovery_of((hyb_fault_kind)99) == HYB_RECOVERY_ABORT, "an unknown fault goes on");
}

/* ---- tuning ------------------------------------------------------------------------------------------------------ */

/* A run whose log loss falls by `slope` a step, with noise. */
static void run_features(hyb_features *f, int n, double scale, double slope, double noise, double grad)
{
    hyb_sight s;
    int i;
    random_at = 1000;
    hyb_features_init(f, 0);
    memset(&s, 0, sizeof s);
    for (i = 0; i < n; i++) {
        s.loss = scale * exp(1 - slope * i + noise * normal());
        s.grad_norm = grad * exp(0.05 * normal());
        s.rate = 1e-3;
        hyb_features_step(f, &s);
    }
}

static void test_health(void)
{
    static hyb_features f;
    hyb_health good, bad, large, little, flat;
    TEST("health");
    run_features(&f, 200, 1, 2e-3, 0.01, 1);
    good = hyb_health_of(&f, 0.9);
    CHECK(good.known && good.kind >= HYB_HEALTH_GOOD && good.lengthen > 1 && good.rate == 1 && !good.full,
          "a run that goes well: %g", good.score);
    run_features(&f, 200, 1, 0, 0.01, 1);
    flat = hyb_health_of(&f, 0.9);
    CHECK(flat.score < good.score - 0.05 && flat.known, "a run that stands still: %g, falling %g", flat.score,
          good.score);
    run_features(&f, 200, 1e3, 2e-3, 0.01, 1e-4);
    large = hyb_health_of(&f, 0.9);
    CHECK(fabs(large.score - good.score) < 1e-9, "it depends on the size of losses: %g, %g", large.score, good.score);
    run_features(&f, 200, 1, -5e-3, 0.3, 1);
    bad = hyb_health_of(&f, 0.1);
    CHECK(bad.score < 0.5 && bad.score < good.score - 0.3 && bad.kind <= HYB_HEALTH_POOR && bad.full > 0 &&
              bad.lengthen < 1 && bad.rate < 1,
          "a run that goes wrong: %g", bad.score);
    run_features(&f, 10, 1, 0, 0.01, 1);
    little = hyb_health_of(&f, 0.9);
    CHECK(!little.known && little.lengthen == 1 && little.rate == 1 && !little.full, "from ten steps");
    run_features(&f, 200, 1, NAN, NAN, HUGE_VAL);
    little = hyb_health_of(&f, NAN);
    CHECK(!little.known && hyb_is_finite(little.score), "from no numbers: %g", little.score);
    run_features(&f, 200, 0, 0, 0, 1); /* losses of 0 */
    little = hyb_health_of(&f, NAN);
    CHECK(hyb_is_finite(little.score) && little.score > 0 && little.score < 1, "from losses of 0: %g", little.score);
}

static void walk_plateau(void *part, hyb_byte_walk *w) { hyb_plateau_walk((hyb_plateau *)part, w); }

static void test_plateau(void)
{
    hyb_plateau p, again;
    int kind, i, raised = 0, restarts = 0, last = -10000;
    TEST("plateau");
    for (kind = 0; kind < 5; kind++) {
        const double slope = kind == 0 ? 1e-3 : 1e-5, noise = kind == 2 ? 1.0 : 0.01;
        const double budget = kind == 3 ? 0.9 : kind == 4 ? 0.6 : 0.2;
        const hyb_plateau_kind want = kind == 0 || kind == 2 ? HYB_PLATEAU_NONE
                                      : kind == 3            ? HYB_PLATEAU_END
                                      : kind == 4            ? HYB_PLATEAU_SLOW
                                                             : HYB_PLATEAU_STUCK;
        hyb_plateau_init(&p);
        for (i = 0; i < 4000; i++) {
            const double rate = hyb_plateau_step(&p, i % 7 ? 5 * exp(-slope * i + noise * normal()) : NAN, budget);
            if (kind != 1) {
                CHECK(rate == 1, "kind %d: the rate is raised", kind);
                continue;
            }
            CHECK(rate == 1 || rate == 1.5, "rate %g", rate);
            if (rate > 1 && i != last + 1) {
                CHECK(i - last > 400, "a restart %d steps after one", i - last);
                CHECK(restarts || i >= 580 + 90, "the first restart comes after %d steps", i);
                restarts++;
            }
            raised += rate > 1;
            if (rate > 1) last = i;
        }
        CHECK((hyb_plateau_kind)p.kind == want, "kind %d: %d", kind, (int)p.kind);
        if (kind == 1) {
            CHECK(restarts == 3 && raised == 300, "%d restarts, %d steps", restarts, raised);
            hyb_plateau_init(&again);
            CHECK(walk_over(walk_plateau, &p, &again) && !memcmp(&p, &again, sizeof p), "checkpoint");
        }
    }
}

static void test_horizons(void)
{
    hyb_horizons h;
    int i, t;
    TEST("horizons");
    hyb_horizons_init(&h);
    CHECK(hyb_horizons_advise(&h, 0) == HYB_HORIZON_RUN_FULL && hyb_horizons_reach(&h) == 0, "of nothing");
    for (t = 0; t < 200; t++)
        for (i = 0; i < HYB_N_HORIZONS; i++) {
            const double before = 3, was = 3 - 0.01 * (1 << i) + 1e-3 * normal();
            hyb_horizons_add(&h, i, i < 2 ? 3 - 0.01 * (1 << i) : i == 2 ? 3 - 0.02 : 4, was, before);
            hyb_horizons_add(&h, i, NAN, was, before);
        }
    CHECK(hyb_horizons_calibration(&h, 1) > 0.9 && fabs(hyb_horizons_calibration(&h, 2) - 0.67) < 0.02 &&
              hyb_horizons_calibration(&h, 3) < 0.1,
          "%g %g %g", hyb_horizons_calibration(&h, 1), hyb_horizons_calibration(&h, 2),
          hyb_horizons_calibration(&h, 3));
    CHECK(hyb_horizons_reach(&h) == 4 && hyb_horizons_advise(&h, 0) == HYB_HORIZON_RUN_FULL, "reach %d",
          hyb_horizons_reach(&h));
    hyb_horizons_init(&h);
    for (t = 0; t < 50; t++)
        for (i = 0; i < HYB_N_HORIZONS; i++) hyb_horizons_add(&h, i, 3 - 0.01 * i, 3 - 0.01 * i + 1e-4, 3.5);
    CHECK(hyb_horizons_advise(&h, 0.1) == HYB_HORIZON_MAY_SKIP &&
              hyb_horizons_advise(&h, 0.5) == HYB_HORIZON_MAY_VERIFY,
          "good ones: %g", hyb_horizons_overall(&h));
    hyb_horizons_init(&h);
    for (t = 0; t < 50; t++)
        for (i = 0; i < HYB_N_HORIZONS; i++) hyb_horizons_add(&h, i, 3, 3 + normal(), 3);
    CHECK(fabs(hyb_horizons_overall(&h) - 0.5) < 1e-12 && hyb_horizons_reach(&h) == 0, "as good as the last value: %g",
          hyb_horizons_overall(&h));
}

static void test_group_tuner(void)
{
    hyb_group_tuner t;
    int i;
    TEST("gradients out of proportion");
    hyb_group_tuner_init(&t, 0);
    CHECK(hyb_group_tuner_step(&t, 1, 0.03, 1) == 1, "a short one is shortened");
    CHECK(fabs(hyb_group_tuner_step(&t, 1, 0.08, 1) - 0.5) < 1e-12, "twice as long: %g", t.scale[1]);
    CHECK(hyb_group_tuner_step(&t, 1, NAN, 1) == 1 && hyb_group_tuner_step(&t, 1, 1, HUGE_VAL) == 1 && t.n[1] == 2,
          "no numbers");
    CHECK(hyb_group_tuner_step(&t, 2, 1e-5, 0) == 1, "weights that begin at 0 cannot move");
    for (i = 0; i < 1000; i++) hyb_group_tuner_step(&t, 0, i % 4 ? 0.02 : 0.1, 2);
    CHECK(fabs(t.clipped[0] - 0.25) < 0.05 && fabs(exp(t.ratio[0]) - 0.015) < 0.002, "%g of them, ratio %g",
          t.clipped[0], exp(t.ratio[0]));
}

static void walk_ramp(void *part, hyb_byte_walk *w) { hyb_ramp_walk((hyb_ramp *)part, w); }

static void test_ramp(void)
{
    hyb_ramp r, again;
    int64_t now = 2, before;
    int i, changes = 0, last = 0;
    TEST("batches by the noise scale");
    hyb_ramp_init(&r, 0, 32);
    for (i = 0; i < 300; i++) CHECK(hyb_ramp_step(&r, 0, 3, 512) == 3, "without a noise scale");
    hyb_ramp_init(&r, 0, 32);
    for (i = 0; i < 3000; i++) {
        before = now;
        now = hyb_ramp_step(&r, 4096 * exp(i / 600.0 + 0.8 * normal()), now, 512);
        CHECK(now >= before && now <= 2 * before && now <= 32, "from %d to %d", (int)before, (int)now);
        if (now == before) continue;
        CHECK(i - last >= 99 && (double)now <= 1.3 * 0.25 * 4096 * exp(i / 600.0) / 512, "step %d: %d batches", i,
              (int)now);
        changes++;
        last = i;
    }
    CHECK(now == 32 && changes >= 4, "%d batches, after %d changes", (int)now, changes);
    hyb_ramp_init(&r, 0, 32);
    for (now = 2, last = 0, i = 0; i < 1000; i++) {
        before = now;
        now = hyb_ramp_step(&r, i < 95 || i % 2 ? NAN : 1e200, now, 512);
        CHECK(now == before || (now == 2 * before && i - last >= 99 && i >= 95 + 38), "step %d: from %d to %d", i,
              (int)before, (int)now);
        if (now != before) last = i;
    }
    CHECK(now == 32, "of a noise scale without bounds: %d", (int)now);
    hyb_ramp_init(&again, 0.5, 8);
    CHECK(walk_over(walk_ramp, &r, &again) && again.known == r.known && again.most == 8 && again.fraction == 0.5 &&
              hyb_ramp_step(&again, 0, 8, 512) == 8,
          "settings come from a checkpoint");
}

static void walk_tuning(void *part, hyb_byte_walk *w) { hyb_tuning_walk((hyb_tuning *)part, w); }

/* Each part by itself, and none. Nothing is to be carried out unless that is switched on too. */
static void test_tuning(void)
{
    static hyb_features f;
    static hyb_tuning t, again;
    static const double weights[HYB_N_GROUPS] = { 1, 1, 1, 1, 1, 1, 1, 1 },
                        grads[HYB_N_GROUPS] = { 1, 0, 0, 0, 0, 0, 0, 0 };
    uint32_t part;
    int i, acts;
    TEST("tuning");
    run_features(&f, 200, 1, -5e-3, 0.3, 1);
    for (part = 0; part <= HYB_TUNE_ALL; part = part ? part * 2 : 1)
        for (acts = 0; acts < 2; acts++) {
            hyb_tuning_desc d;
            hyb_advice a;
            uint32_t acted = 0;
            double rate = 1, shortest = 1;
            memset(&d, 0, sizeof d);
            d.parts = part;
            d.acts = acts ? HYB_TUNE_ALL : 0;
            hyb_tuning_init(&t, &d);
            for (i = 0; i < 900; i++) {
                f.last.loss = 3 + 1e-3 * (i % 2);
                f.last.noise_scale = 1e6;
                f.last.batch_tokens = 512;
                hyb_tuning_predicted(&t, 0, 3, 3.001, 3.5);
                a = hyb_tuning_step(&t, &f, 0.1, 0, grads, weights, 2);
                acted |= a.acted;
                rate *= a.rate;
                shortest = HYB_MIN(shortest, a.group[0]);
            }
            CHECK(acted == (acts ? part : 0), "part %u acts as %u", (unsigned)part, (unsigned)acted);
            CHECK((rate != 1) == (part == HYB_TUNE_HEALTH || part == HYB_TUNE_PLATEAU), "part %u: rate",
                  (unsigned)part);
            CHECK((shortest < 1) == (part == HYB_TUNE_GROUPS), "part %u: gradients", (unsigned)part);
            CHECK((a.full > 0) == (part == HYB_TUNE_HEALTH), "part %u: true steps", (unsigned)part);
            CHECK((a.reach > 0) == (part == HYB_TUNE_HORIZONS), "part %u: reach", (unsigned)part);
            CHECK((a.batches != 2) == (part == HYB_TUNE_BATCHES), "part %u: %d batches", (unsigned)part,
                  (int)a.batches);
            CHECK((a.plateau != HYB_PLATEAU_NONE) == (part == HYB_TUNE_PLATEAU), "part %u: plateau", (unsigned)part);
            CHECK(a.health.known && a.health.kind <= HYB_HEALTH_POOR, "health is always known");
            hyb_tuning_init(&again, &d);
            CHECK(walk_over(walk_tuning, &t, &again) && !memcmp(&t, &again, sizeof t), "checkpoint");
        }
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
    test_fit();
    test_residual();
    test_store();
    test_corrector();
    test_corrector_bounds();
    test_loss_corrector();
    test_moved();
    test_recovery();
    test_health();
    test_plateau();
    test_horizons();
    test_group_tuner();
    test_ramp();
    test_tuning();
    be->ops->destroy(be);
    return test_end();
}
