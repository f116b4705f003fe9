/* The seam under the kernels, function by function, against plain C [emu] [emu-reordered] [emu-check] [no-asan]:
 * conversions of all 16-bit values and of everything between them, dot4, shuffles, barriers, which lane holds what of
 * mma and ldmatrix, asynchronous copies; and one product by cuBLAS.
 *
 * The emulator and the kernels were written from one understanding of NVIDIA's documents. That this program passes on a
 * GPU and on the emulator is what makes the rest of the suite, which CI runs on the emulator, say something about
 * GPUs: so 'make gpu-check' runs it first. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include <math.h>

enum { FROM_16, TO_16, ARITHMETIC, SHUFFLES, MMA_F16, MMA_BF16, MMA_S8, MATRICES, COPIES, BARRIERS };
static const char *kernels_text[2]; /* tests/cuda_layout.cu */
static hyb_cuda *cu;
static hyb_cuda_queue *queue;

static const hyb_cuda_module_info *own_modules(int module)
{
    static const hyb_cuda_module_info table[] = { { "layout",
                                                    { hyb_cuda_text_prelude, kernels_text, NULL, NULL },
                                                    { NULL, NULL, NULL, NULL },
                                                    { "from_16", "to_16", "arithmetic", "shuffles", "mma_f16_registers",
                                                      "mma_bf16_registers", "mma_s8_registers", "matrices", "copies",
                                                      "barriers", NULL, NULL } } };
    return &table[module];
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static uint64_t rng_state = 1;
static uint32_t rng(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 32);
}
static float rng_float(void) { return (float)rng() / 2147483648.0f - 1.0f; }

static void *device_new(size_t bytes)
{
    hybrid_error error;
    void *p = NULL;
    if (hyb_cuda_alloc(cu, bytes, &p, &error)) {
        printf("%s\n", error.message);
        exit(1);
    }
    return p;
}
static void *device_put(const void *host, size_t bytes)
{
    void *p = device_new(bytes);
    hyb_cuda_write(queue, p, host, bytes);
    return p;
}
/* Back to the host, and the device's is freed. */
static void device_take(void *host, void *device, size_t bytes)
{
    hybrid_error error;
    hyb_cuda_read(queue, host, device, bytes);
    if (hyb_cuda_sync(queue, &error)) {
        CHECK(0, "%s", error.message);
        test_end();
        exit(1);
    }
    hyb_cuda_free(cu, device);
}
static void device_free(void *p) { hyb_cuda_free(cu, p); }

static void launch(int kernel, int blocks, int threads, void **args)
{
    unsigned grid[3] = { 1, 1, 1 }, block[3] = { 1, 1, 1 };
    grid[0] = (unsigned)blocks;
    block[0] = (unsigned)threads;
    hyb_cuda_launch(queue, 0, kernel, grid, block, 0, args);
}

/* ---- 16-bit floats: a format is its bits of mantissa and its smallest exponent ----------------------------------- */

static double value_of_16(unsigned bits, int mantissa, int least)
{
    const unsigned exponents = (1u << (15 - mantissa)) - 1;
    const unsigned m = bits & ((1u << mantissa) - 1), e = bits >> mantissa & exponents;
    double v = e == exponents ? (m ? (double)NAN : (double)INFINITY)
                              : ldexp((double)(e ? m + (1u << mantissa) : m), (e ? (int)e - 1 : 0) + least - mantissa);
    return bits & 0x8000u ? -v : v;
}

/* To the nearest, ties to even. */
static double round_to_16(double x, int mantissa, int least, double largest)
{
    int e;
    double quantum, r;
    if (isnan(x) || isinf(x) || x == 0) return x;
    frexp(x, &e);
    quantum = ldexp(1.0, (e - 1 > least ? e - 1 : least) - mantissa);
    r = nearbyint(x / quantum) * quantum; /* exact: x is a float */
    return fabs(r) > largest ? copysign((double)INFINITY, x) : copysign(r, x);
}

static bool same(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b)); }

static void test_conversions(void)
{
    enum { ALL = 65536, N = 3 * ALL };
    const double largest_half = 65504, largest_bf = ldexp(255, 120);
    uint16_t *bits = (uint16_t *)malloc(N * 2), *bf = (uint16_t *)malloc(N * 2);
    uint32_t *pairs = (uint32_t *)malloc(N * 4), *bf_pairs = (uint32_t *)malloc(N * 4);
    float *x = (float *)malloc(N * 4), *y = (float *)malloc(N * 4);
    void *d[6], *args[6];
    int i, wrong[6] = { 0, 0, 0, 0, 0, 0 }, n = ALL;
    TEST("16 bits to floats");
    for (i = 0; i < ALL; i++) bits[i] = (uint16_t)i;
    d[0] = device_put(bits, ALL * 2);
    d[1] = device_new(ALL * 4);
    d[2] = device_new(ALL * 4);
    args[0] = &d[0];
    args[1] = &d[1];
    args[2] = &d[2];
    args[3] = &n;
    launch(FROM_16, ALL / 256, 256, args);
    device_take(x, d[1], ALL * 4);
    device_take(y, d[2], ALL * 4);
    device_free(d[0]);
    for (i = 0; i < ALL; i++) {
        wrong[0] += !same(x[i], value_of_16((unsigned)i, 10, -14));
        wrong[1] += !same(y[i], value_of_16((unsigned)i, 7, -126));
    }
    CHECK(!wrong[0], "h2f: %d of 65536 wrong, bf2f: %d", wrong[0], wrong[1]);
    CHECK(!wrong[1], "h2f: %d of 65536 wrong, bf2f: %d", wrong[0], wrong[1]);

    TEST("floats to 16 bits"); /* every half, every tie, just over the tie; the same for bf16 */
    for (i = 0; i < ALL; i++) {
        float tie;
        uint32_t u = (uint32_t)i << 16 | 0x8000u;
        x[i] = i & 1 ? (float)value_of_16((unsigned)i, 10, -14) : (float)value_of_16((unsigned)i, 7, -126);
        tie = (float)((value_of_16((unsigned)i & 0xFFFEu, 10, -14) + value_of_16((unsigned)i | 1u, 10, -14)) / 2);
        x[ALL + i] = tie;
        memcpy(&tie, &u, 4);
        x[2 * ALL + i] = i % 3 == 0   ? tie
                         : i % 3 == 1 ? nextafterf(tie, (float)INFINITY)
                                      : nextafterf(x[ALL + i], -(float)INFINITY);
    }
    n = N;
    d[0] = device_put(x, N * 4);
    d[1] = device_new(N * 2);
    d[2] = device_new(N * 2);
    d[3] = device_new(N * 4);
    d[4] = device_new(N * 4);
    for (i = 0; i < 5; i++) args[i] = &d[i];
    args[5] = &n;
    launch(TO_16, N / 256, 256, args);
    device_take(bits, d[1], N * 2);
    device_take(bf, d[2], N * 2);
    device_take(pairs, d[3], N * 4);
    device_take(bf_pairs, d[4], N * 4);
    device_free(d[0]);
    for (i = 0; i < N; i++) {
        wrong[2] += !same(value_of_16(bits[i], 10, -14), round_to_16(x[i], 10, -14, largest_half));
        wrong[3] += !same(value_of_16(bf[i], 7, -126), round_to_16(x[i], 7, -126, largest_bf));
        wrong[4] += pairs[i] != ((uint32_t)bits[i] | (uint32_t)bits[N - 1 - i] << 16);
        wrong[5] += bf_pairs[i] != ((uint32_t)bf[i] | (uint32_t)bf[N - 1 - i] << 16);
    }
    CHECK(!wrong[2], "f2h: %d of %d wrong, f2bf: %d", wrong[2], (int)N, wrong[3]);
    CHECK(!wrong[3], "f2h: %d of %d wrong, f2bf: %d", wrong[2], (int)N, wrong[3]);
    CHECK(!wrong[4], "f2h2: %d of %d pairs are not the two values, f2bf2: %d", wrong[4], (int)N, wrong[5]);
    CHECK(!wrong[5], "f2h2: %d of %d pairs are not the two values, f2bf2: %d", wrong[4], (int)N, wrong[5]);
    free(bits);
    free(bf);
    free(pairs);
    free(bf_pairs);
    free(x);
    free(y);
}

static uint16_t half_of(float f)
{
    uint16_t h = 0;
    hybrid_quantize(HYBRID_TYPE_F16, &f, &h, 1, NULL, NULL);
    return h;
}
/* one that a half can hold */
static float half_float(void) { return (float)value_of_16(half_of(rng_float()), 10, -14); }

/* ---- arithmetic, shuffles, barriers ------------------------------------------------------------------------------ */

static void test_arithmetic(void)
{
    enum { N = 4096 };
    static int a[N], b[N], c[N], dots[N];
    static float x[N], powers[N];
    void *d[6], *args[7];
    int i, k, wrong = 0, n = N;
    double worst = 0;
    TEST("dot4, fast_exp");
    for (i = 0; i < N; i++) {
        a[i] = (int)rng();
        b[i] = (int)rng();
        c[i] = (int)(rng() >> 8);
        x[i] = rng_float() * (i % 2 ? 20.0f : 86.0f);
    }
    a[0] = b[0] = (int)0x80808080u; /* -128 * -128 four times */
    x[0] = 0;
    x[1] = -1000;
    x[2] = -(float)INFINITY;
    x[3] = 200;
    d[0] = device_put(a, sizeof a);
    d[1] = device_put(b, sizeof b);
    d[2] = device_put(c, sizeof c);
    d[3] = device_new(sizeof dots);
    d[4] = device_put(x, sizeof x);
    d[5] = device_new(sizeof powers);
    for (i = 0; i < 6; i++) args[i] = &d[i];
    args[6] = &n;
    launch(ARITHMETIC, N / 128, 128, args);
    device_take(dots, d[3], sizeof dots);
    device_take(powers, d[5], sizeof powers);
    device_free(d[0]);
    device_free(d[1]);
    device_free(d[2]);
    device_free(d[4]);
    for (i = 0; i < N; i++) {
        int sum = c[i];
        for (k = 0; k < 32; k += 8)
            sum += (int)(signed char)((unsigned)a[i] >> k & 255u) * (int)(signed char)((unsigned)b[i] >> k & 255u);
        wrong += dots[i] != sum;
        if (i > 3) {
            double e = fabs(powers[i] / exp((double)x[i]) - 1);
            if (!(e <= worst)) worst = e;
        }
    }
    CHECK(!wrong, "dot4: %d of %d wrong", wrong, (int)N);
    CHECK(worst < 1.2e-5, "fast_exp is off by %.1e", worst); /* half a unit of x * log2 e, up to 86, in the exponent */
    CHECK(powers[0] == 1, "fast_exp of 0, -1000, -inf, 200: %g %g %g %g", powers[0], powers[1], powers[2], powers[3]);
    CHECK(powers[1] == 0, "fast_exp of 0, -1000, -inf, 200: %g %g %g %g", powers[0], powers[1], powers[2], powers[3]);
    CHECK(powers[2] == 0, "fast_exp of 0, -1000, -inf, 200: %g %g %g %g", powers[0], powers[1], powers[2], powers[3]);
    CHECK(isinf(powers[3]), "fast_exp of 0, -1000, -inf, 200: %g %g %g %g", powers[0], powers[1], powers[2], powers[3]);
    printf("  fast_exp within %.1e\n", worst);
}

static void test_shuffles(void)
{
    static float x[32], floats[64 * 32], sums[64];
    static int y[32], integers[64 * 32];
    void *d[5], *args[5];
    int i, k, lane, wrong[4] = { 0, 0, 0, 0 };
    double sum = 0, most = -1e30;
    TEST("shuffles");
    for (i = 0; i < 32; i++) {
        x[i] = (float)(i * i) + 0.25f;
        y[i] = (int)rng();
        sum += x[i];
        most = most > x[i] ? most : x[i];
    }
    d[0] = device_put(x, sizeof x);
    d[1] = device_put(y, sizeof y);
    d[2] = device_new(sizeof floats);
    d[3] = device_new(sizeof integers);
    d[4] = device_new(sizeof sums);
    for (i = 0; i < 5; i++) args[i] = &d[i];
    launch(SHUFFLES, 1, 32, args);
    device_take(floats, d[2], sizeof floats);
    device_take(integers, d[3], sizeof integers);
    device_take(sums, d[4], sizeof sums);
    device_free(d[0]);
    device_free(d[1]);
    for (k = 0; k < 32; k++)
        for (lane = 0; lane < 32; lane++) {
            wrong[0] += floats[k * 32 + lane] != x[lane ^ k] || integers[k * 32 + lane] != y[lane ^ k];
            wrong[1] += floats[(32 + k) * 32 + lane] != x[k] || integers[(32 + k) * 32 + lane] != y[k];
        }
    for (lane = 0; lane < 32; lane++) {
        wrong[2] += sums[lane] != (float)sum;
        wrong[3] += sums[32 + lane] != (float)most;
    }
    CHECK(!wrong[0], "shfl_xor: %d of 1024 wrong", wrong[0]);
    CHECK(!wrong[1], "shfl: %d of 1024 wrong", wrong[1]);
    CHECK(!wrong[2], "warp_sum: %d lanes of 32 wrong, warp_max: %d", wrong[2], wrong[3]);
    CHECK(!wrong[3], "warp_sum: %d lanes of 32 wrong, warp_max: %d", wrong[2], wrong[3]);
}

static void test_barriers(void)
{
    static int x[64], warp[64], block[64];
    void *d[3], *args[3];
    int i, wrong = 0;
    TEST("barriers");
    for (i = 0; i < 64; i++) x[i] = (int)rng();
    d[0] = device_put(x, sizeof x);
    d[1] = device_new(sizeof warp);
    d[2] = device_new(sizeof block);
    for (i = 0; i < 3; i++) args[i] = &d[i];
    launch(BARRIERS, 1, 64, args);
    device_take(warp, d[1], sizeof warp);
    device_take(block, d[2], sizeof block);
    device_free(d[0]);
    for (i = 0; i < 64; i++) wrong += warp[i] != x[i ^ 31] || block[i] != x[63 - i];
    CHECK(!wrong, "%d of 64 threads saw something else", wrong);
}

/* ---- tensor cores: D (16, 8) += A (16, K) B (K, 8); a register holds `pack` values of a row of A or of a column of
 * B */

typedef struct product {
    double a[16][32], b[32][8], d[16][8];
} product;

/* Where PTX ISA, "Matrix Fragments for mma.m16n8k16 / m16n8k32", puts them; lane = 4 g + t. */
static int row_of_a(int lane, int reg) { return lane / 4 + reg % 2 * 8; }
static int column_of_a(int lane, int reg, int pack) { return lane % 4 * pack + reg / 2 * 4 * pack; }
static int row_of_b(int lane, int reg, int pack) { return lane % 4 * pack + reg * 4 * pack; }
static int row_of_d(int lane, int reg) { return lane / 4 + reg / 2 * 8; }
static int column_of_d(int lane, int reg) { return lane % 4 * 2 + reg % 2; }

static uint32_t bits_of(int kernel, double v)
{
    float f = (float)v;
    uint32_t u;
    if (kernel == MMA_S8) return (uint32_t)(int)v & 255u;
    if (kernel == MMA_F16) return half_of(f);
    memcpy(&u, &f, 4);
    return u >> 16;
}

/* Integers make sums that are exact in every format, so that one wrong place shows; fractions: what the units round
 * away. */
static void test_mma(const char *name, int kernel, bool fractions)
{
    enum { PRODUCTS = 8 };
    static product p[PRODUCTS];
    static uint32_t a[PRODUCTS][32][4], b[PRODUCTS][32][2];
    static union {
        float f[PRODUCTS][32][4];
        int i[PRODUCTS][32][4];
    } d;
    const int pack = kernel == MMA_S8 ? 4 : 2, bits = 32 / pack, K = 8 * pack;
    void *device[3], *args[3];
    int q, i, j, k, lane, wrong = 0;
    double worst = 0;
    TEST(name);
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    for (q = 0; q < PRODUCTS; q++) {
        for (k = 0; k < K; k++) {
            for (i = 0; i < 16; i++)
                p[q].a[i][k] = fractions          ? half_float()
                               : kernel == MMA_S8 ? (int)(rng() % 256) - 128
                                                  : (int)(rng() % 127) - 63;
            for (j = 0; j < 8; j++)
                p[q].b[k][j] = fractions          ? half_float()
                               : kernel == MMA_S8 ? (int)(rng() % 256) - 128
                                                  : (int)(rng() % 127) - 63;
            if (fractions && kernel == MMA_BF16) {
                for (i = 0; i < 16; i++) p[q].a[i][k] = round_to_16(p[q].a[i][k], 7, -126, 1e38);
                for (j = 0; j < 8; j++) p[q].b[k][j] = round_to_16(p[q].b[k][j], 7, -126, 1e38);
            }
        }
        for (i = 0; i < 16; i++)
            for (j = 0; j < 8; j++) {
                p[q].d[i][j] = fractions ? 0.5 : i * 100 - j;
                for (lane = 0; lane < 32; lane++)
                    for (k = 0; k < 4; k++)
                        if (row_of_d(lane, k) == i && column_of_d(lane, k) == j) {
                            if (kernel == MMA_S8)
                                d.i[q][lane][k] = (int)p[q].d[i][j];
                            else
                                d.f[q][lane][k] = (float)p[q].d[i][j];
                        }
                for (k = 0; k < K; k++) p[q].d[i][j] += p[q].a[i][k] * p[q].b[k][j];
            }
        for (lane = 0; lane < 32; lane++)
            for (k = 0; k < pack; k++) {
                for (i = 0; i < 4; i++)
                    a[q][lane][i] |= bits_of(kernel, p[q].a[row_of_a(lane, i)][column_of_a(lane, i, pack) + k])
                                     << k * bits;
                for (i = 0; i < 2; i++)
                    b[q][lane][i] |= bits_of(kernel, p[q].b[row_of_b(lane, i, pack) + k][lane / 4]) << k * bits;
            }
    }
    device[0] = device_put(a, sizeof a);
    device[1] = device_put(b, sizeof b);
    device[2] = device_put(&d, sizeof d);
    for (i = 0; i < 3; i++) args[i] = &device[i];
    launch(kernel, PRODUCTS, 32, args);
    device_take(&d, device[2], sizeof d);
    device_free(device[0]);
    device_free(device[1]);
    for (q = 0; q < PRODUCTS; q++)
        for (lane = 0; lane < 32; lane++)
            for (i = 0; i < 4; i++) {
                double want = p[q].d[row_of_d(lane, i)][column_of_d(lane, i)],
                       got = kernel == MMA_S8 ? (double)d.i[q][lane][i] : (double)d.f[q][lane][i];
                double e = fabs(got - want);
                if (!(e <= worst)) worst = e;
                wrong += fractions ? !(e < 2e-5) : got != want;
            }
    CHECK(!wrong, "%d of %d values are wrong, by up to %g", wrong, PRODUCTS * 128, worst);
    if (fractions) printf("  %-24s within %.1e\n", name, worst);
}

static void test_matrices(void)
{
    static uint16_t rows[32][8];
    static uint32_t out[12][32];
    void *d[2], *args[2];
    int r, lane, wrong[4] = { 0, 0, 0, 0 };
    TEST("ldmatrix");
    for (r = 0; r < 32 * 8; r++) rows[r / 8][r % 8] = (uint16_t)(r * 257 + 1);
    d[0] = device_put(rows, sizeof rows);
    d[1] = device_new(sizeof out);
    args[0] = &d[0];
    args[1] = &d[1];
    launch(MATRICES, 1, 32, args);
    device_take(out, d[1], sizeof out);
    device_free(d[0]);
    for (r = 0; r < 12; r++)
        for (lane = 0; lane < 32; lane++) {
            const int which = r < 4    ? 0
                              : r < 8  ? 1
                              : r < 10 ? 2
                                       : 3,
                      matrix = r < 8 ? r % 4 : r % 2, g = lane / 4, t = lane % 4;
            const uint16_t *m = rows[8 * matrix];
            uint32_t want = which % 2 ? (uint32_t)m[2 * t * 8 + g] | (uint32_t)m[(2 * t + 1) * 8 + g] << 16
                                      : (uint32_t)m[g * 8 + 2 * t] | (uint32_t)m[g * 8 + 2 * t + 1] << 16;
            wrong[which] += out[r][lane] != want;
        }
    CHECK(!wrong[0], "ldsm_x4: %d of 128 registers wrong", wrong[0]);
    CHECK(!wrong[1], "ldsm_x4_trans: %d of 128 registers wrong", wrong[1]);
    CHECK(!wrong[2], "ldsm_x2: %d of 64 registers wrong", wrong[2]);
    CHECK(!wrong[3], "ldsm_x2_trans: %d of 64 registers wrong", wrong[3]);
}

static void test_copies(void)
{
    static uint32_t x[128][4], own[64][4], all[128][4], stream[64][4];
    static const uint32_t zeros[4] = { 0, 0, 0, 0 };
    void *d[4], *args[4];
    int i, g, wrong[3] = { 0, 0, 0 };
    TEST("cp_async16, load_stream");
    for (i = 0; i < 128 * 4; i++) x[i / 4][i % 4] = rng() | 1u;
    d[0] = device_put(x, sizeof x);
    d[1] = device_new(sizeof own);
    d[2] = device_new(sizeof all);
    d[3] = device_new(sizeof stream);
    for (i = 0; i < 4; i++) args[i] = &d[i];
    launch(COPIES, 1, 64, args);
    device_take(own, d[1], sizeof own);
    device_take(all, d[2], sizeof all);
    device_take(stream, d[3], sizeof stream);
    device_free(d[0]);
    for (i = 0; i < 64; i++) {
        wrong[0] += memcmp(own[i], i % 3 ? x[i] : zeros, 16) != 0;
        for (g = 0; g < 2; g++) {
            const int at = g * 64 + (i + 37) % 64;
            wrong[1] += memcmp(all[g * 64 + i], at % 3 ? x[at] : zeros, 16) != 0;
        }
        wrong[2] += memcmp(stream[i], x[64 + i], 16) != 0;
    }
    CHECK(!wrong[0], "%d of 64 pieces are not there behind cp_wait<1>", wrong[0]);
    CHECK(!wrong[1], "%d of 128 pieces are not there behind cp_wait<0> and a barrier", wrong[1]);
    CHECK(!wrong[2], "load_stream: %d of 64 pieces wrong", wrong[2]);
}

/* ---- cuBLAS: rows and columns where they belong ------------------------------------------------------------------ */

static void test_cublas(void)
{
    enum { ROWS = 24, OUT = 40, IN = 72 };
    static uint16_t w[OUT][IN], x[ROWS][IN];
    static float y[ROWS][OUT];
    void *d[3];
    hybrid_error why;
    int i, j, k, wrong = 0;
    double worst = 0;
    TEST("cuBLAS");
    if (!hyb_cuda_queue_blas(queue, &why)) {
        SKIP("%s", why.message);
        return;
    }
    for (i = 0; i < OUT; i++)
        for (k = 0; k < IN; k++) w[i][k] = half_of(rng_float());
    for (i = 0; i < ROWS; i++)
        for (k = 0; k < IN; k++) x[i][k] = half_of(rng_float());
    d[0] = device_put(w, sizeof w);
    d[1] = device_put(x, sizeof x);
    d[2] = device_new(sizeof y);
    CHECK(hyb_cuda_gemm(queue, HYB_CUDA_R_16F, d[0], IN, d[1], IN, HYB_CUDA_R_32F, d[2], OUT, ROWS, OUT, IN, false),
          "there is a cuBLAS");
    device_take(y, d[2], sizeof y);
    device_free(d[0]);
    device_free(d[1]);
    for (i = 0; i < ROWS; i++)
        for (j = 0; j < OUT; j++) {
            double want = 0, e;
            for (k = 0; k < IN; k++) want += value_of_16(x[i][k], 10, -14) * value_of_16(w[j][k], 10, -14);
            e = fabs(y[i][j] - want);
            if (!(e <= worst)) worst = e;
            wrong += !(e < 1e-4);
        }
    CHECK(!wrong, "%d of %d values are wrong, by up to %g", wrong, ROWS * OUT, worst);
    printf("  cuBLAS %d.%d.%d within %.1e (%s)\n", cu->blas->version[0], cu->blas->version[1], cu->blas->version[2],
           worst, cu->blas->library.path);
}

int main(void)
{
    hybrid_runtime *rt = NULL;
    hybrid_runtime_desc rd;
    hyb_cuda_desc desc;
    hybrid_error error;
    char *text = read_file("tests/cuda_layout.cu", NULL);
    memset(&rd, 0, sizeof rd);
    memset(&desc, 0, sizeof desc);
    rd.device = "cpu";
    desc.separate = true; /* every buffer ends where its memory ends */
    desc.cache.path = ""; /* what is tested is what is compiled now */
    desc.modules = own_modules;
    desc.n_modules = 1;
    TEST("device");
    CHECK(text, "tests/cuda_layout.cu (run this from the root of the repository), and a runtime");
    CHECK(!hybrid_runtime_create(&rd, &rt, &error),
          "tests/cuda_layout.cu (run this from the root of the repository), and a runtime");
    kernels_text[0] = text;
    if (rt && (hyb_cuda_open(rt, &desc, &cu, &error) || hyb_cuda_can_compile(cu, &error)))
        SKIP_PROCESSOR("no GPU: %s", error.message);
    else if (rt && hyb_cuda_queue_create(cu, &queue, &error))
        CHECK(0, "%s", error.message);
    if (queue) {
        printf("  %s, capability %d.%d, driver for CUDA %d.%d (%s)\n", cu->name, cu->cc / 10, cu->cc % 10,
               cu->driver.version / 1000, cu->driver.version % 1000 / 10, cu->driver.library.path);
        test_mma("mma_f16, whole numbers", MMA_F16, false);
        test_mma("mma_bf16, whole numbers", MMA_BF16, false);
        test_mma("mma_s8", MMA_S8, false);
        test_mma("mma_f16, fractions", MMA_F16, true);
        test_mma("mma_bf16, fractions", MMA_BF16, true);
        test_matrices();
        test_cublas();
        test_copies();
        test_shuffles();
        test_barriers();
        test_arithmetic();
        test_conversions();
    }
    hyb_cuda_queue_destroy(queue);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    free(text);
    return test_end();
}
