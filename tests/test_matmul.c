/* Matrix products with integer blocks: the scalar reference against double precision, every ISA of this machine against
 * the reference bit by bit, and the driver with its threads. Weights lie against pages that may not be touched.
 * [simd] [aarch64] */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "private.h"

static const hybrid_type types[] = { HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q4_1, HYBRID_TYPE_Q5_0, HYBRID_TYPE_Q5_1,
                                     HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q2_K, HYBRID_TYPE_Q3_K, HYBRID_TYPE_Q4_K,
                                     HYBRID_TYPE_Q5_K, HYBRID_TYPE_Q6_K };
enum { N_TYPES = (int)HYB_COUNT(types) };

static uint64_t rng_state = 1;
static uint32_t rng(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33);
}
static float rng_float(void) { return (float)rng() / 1073741824.0f - 1.0f; }

/* ---- weights at the edge of readable memory ---------------------------------------------------------------------- */
typedef struct edge {
    char *map;
    size_t map_size;
    char *at;
} edge;
#if defined(_WIN32)
static edge edge_make(size_t size, bool at_end)
{
    edge e;
    (void)at_end;
    e.map_size = size;
    e.map = e.at = (char *)malloc(size);
    return e;
}
static void edge_free(edge *e) { free(e->map); }
#else
static edge edge_make(size_t size, bool at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = hyb_align(size, page);
    edge e;
    e.map_size = body + 2 * page;
    e.map = (char *)mmap(NULL, e.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (e.map == (char *)MAP_FAILED || mprotect(e.map + page, body, PROT_READ | PROT_WRITE)) {
        printf("mmap failed\n");
        exit(1);
    }
    e.at = at_end ? e.map + page + body - size : e.map + page;
    return e;
}
static void edge_free(edge *e) { munmap(e->map, e->map_size); }
#endif

enum weights_kind { WEIGHTS_RANDOM, WEIGHTS_ONES, WEIGHTS_ZEROS, WEIGHTS_80, WEIGHTS_NAN };

/* Offsets of the half-precision fields of a block. */
static int half_fields(hybrid_type type, size_t at[2])
{
    at[0] = 0;
    at[1] = 2;
    switch (type) {
    case HYBRID_TYPE_Q4_1:
    case HYBRID_TYPE_Q5_1:
    case HYBRID_TYPE_Q4_K:
    case HYBRID_TYPE_Q5_K: return 2;
    case HYBRID_TYPE_Q2_K:
        at[0] = 80;
        at[1] = 82;
        return 2;
    case HYBRID_TYPE_Q3_K: at[0] = 108; return 1;
    case HYBRID_TYPE_Q6_K: at[0] = 208; return 1;
    default: return 1;
    }
}
static void fill_weights(hybrid_type type, char *w, size_t size, int kind)
{
    size_t i, b, at[2], bytes = hybrid_type_block_bytes(type);
    int f, fields = half_fields(type, at);
    for (i = 0; i < size; i++)
        w[i] = kind == WEIGHTS_ONES    ? (char)-1
               : kind == WEIGHTS_ZEROS ? 0
               : kind == WEIGHTS_80    ? (char)-128
                                       : (char)rng();
    for (b = 0; b < size / bytes; b++)
        for (f = 0; f < fields; f++)
            hyb_store_u16(w + b * bytes + at[f],
                          kind == WEIGHTS_NAN && rng() % 16 == 0
                              ? (uint16_t)(rng() % 2 ? 0x7E00 : 0xFC00)
                              : hyb_f32_to_f16(rng() % 64 ? rng_float() * 0.02f : rng_float() * 1e-6f));
}

enum acts_kind { ACTS_RANDOM, ACTS_OUTLIERS, ACTS_ODD, ACTS_EXTREME, ACTS_EDGE };
static void fill_acts(float *x, size_t n, int kind)
{
    size_t i;
    for (i = 0; i < n; i++) {
        x[i] = rng_float();
        if (kind == ACTS_OUTLIERS && rng() % 100 == 0) x[i] *= 50;
        if (kind == ACTS_EXTREME) x[i] = rng() % 8 ? (rng() % 2 ? 1.0f : -1.0f) : 0.5f / 127;
        if (kind == ACTS_ODD) {
            uint32_t r = rng() % 700;
            if (r == 0)
                x[i] = hyb_bits_f32(0x7FC00000u);
            else if (r == 1)
                x[i] = hyb_bits_f32(0xFF800000u);
            else if (i / 256 % 3 == 0)
                x[i] = 0;
            else if (i / 256 % 7 == 1)
                x[i] *= 1e-38f;
            else if (i / 256 % 7 == 2)
                x[i] *= 3e38f;
        }
    }
    /* whole numbers up to 127, 16 of one sign at a time, whose sum is at most 1024: 32 times that is one too much for
     * 16 bits */
    for (i = 0; kind == ACTS_EDGE && i + 16 <= n; i += 16) {
        const int sum = 1009 + (int)(rng() % 16), first = i % 256 ? sum / 16 : 127, sign = rng() % 2 ? 1 : -1;
        int j, left = sum - first;
        x[i] = (float)(sign * first);
        for (j = 1; j < 16; j++) {
            x[i + (size_t)j] = (float)(sign * (left / (16 - j)));
            left -= left / (16 - j);
        }
    }
}

/* Equal bits; a NaN equals any NaN. Where weights are damaged (infinite scales), a NaN equals an infinity, too. */
static bool same(const float *a, const float *b, size_t n, bool damaged)
{
    size_t i;
    for (i = 0; i < n; i++) {
        bool nan_a = damaged ? a[i] - a[i] != 0 : a[i] != a[i], nan_b = damaged ? b[i] - b[i] != 0 : b[i] != b[i];
        if (hyb_f32_bits(a[i]) != hyb_f32_bits(b[i]) && !(nan_a && nan_b)) return false;
    }
    return true;
}

/* y (n, rows) by gemm, split at `split` rows; by gemv when n is 0 (one row of x), by few below 0. Checks that nothing
 * beyond is written. */
static void product(const hyb_matmul_kernel *kernel, const char *w, size_t row_bytes, int64_t k, const float *x, int n,
                    float *y, int rows, int split)
{
    const hyb_act_format *format = n > 0 ? kernel->many : kernel->one;
    size_t bytes = format->bytes(k), scratch_bytes = n > 0 ? kernel->scratch_bytes(k, n) : 0;
    int i, count = n < 0 ? -n : HYB_MAX(n, 1), stride = rows + 3;
    char *raw = (char *)malloc(bytes * (size_t)count + scratch_bytes + 192),
         *acts = raw + (64 - (uintptr_t)raw % 64) % 64;
    char *scratch = acts + bytes * (size_t)count;
    float *out = (float *)malloc(((size_t)count * (size_t)stride + 1) * sizeof *out);
    scratch += (64 - (uintptr_t)scratch % 64) % 64;
    memset(acts, 0x55, bytes * (size_t)count);
    for (i = 0; i < count; i++) format->prepare(x + i * k, k, acts + (size_t)i * bytes);
    for (i = 0; i <= count * stride; i++) out[i] = 12345.0f;
    if (n < 0) {
        if (split) kernel->few(w, row_bytes, k, acts, count, out + 1, stride, 0, split);
        kernel->few(w, row_bytes, k, acts, count, out + 1 + split, stride, split, rows);
    } else if (n) {
        if (split) kernel->gemm(w, row_bytes, k, acts, n, out + 1, stride, 0, split, scratch);
        kernel->gemm(w, row_bytes, k, acts, n, out + 1 + split, stride, split, rows, scratch);
    } else {
        if (split) kernel->gemv(w, row_bytes, k, acts, out + 1, 0, split);
        kernel->gemv(w, row_bytes, k, acts, out + 1 + split, split, rows);
    }
    CHECK(out[0] == 12345.0f, "wrote before y");
    for (i = 0; i < count; i++) {
        memcpy(y + i * rows, out + 1 + i * stride, (size_t)rows * sizeof *y);
        CHECK(out[1 + i * stride + rows] == 12345.0f && out[1 + i * stride + rows + 1] == 12345.0f,
              "wrote beyond the rows");
    }
    free(out);
    free(raw);
}

/* The reference, from decoded weights and the decoded activations of the generic format, in double. */
static void test_generic(hybrid_type type, int64_t k)
{
    enum { ROWS = 5, N = 3 };
    const hyb_matmul_kernel *kernel = hyb_int_kernel_for(HYB_ISA_GENERIC, type);
    size_t row_bytes = hybrid_type_row_bytes(type, (size_t)k), bytes = kernel->many->bytes(k);
    bool super = hybrid_type_block_size(type) == 256;
    edge w = edge_make(row_bytes * ROWS, true);
    float *x = (float *)malloc((size_t)k * N * sizeof *x), *values = (float *)malloc((size_t)k * sizeof *values),
          y[ROWS * N];
    char *act = (char *)malloc(bytes);
    int r, i;
    int64_t j;
    fill_weights(type, w.at, row_bytes * ROWS, WEIGHTS_RANDOM);
    fill_acts(x, (size_t)k * N, ACTS_OUTLIERS);
    product(kernel, w.at, row_bytes, k, x, N, y, ROWS, 2);
    for (i = 0; i < N; i++) {
        const float *d;
        kernel->many->prepare(x + i * k, k, act);
        d = (const float *)(const void *)(act + (super ? hyb_act256_d(k) : hyb_act32_d(k)));
        for (j = 0; j < k; j++) {
            double v = (double)d[j / (super ? 256 : 32)] * (signed char)act[j];
            CHECK(fabs(v - x[i * k + j]) <= 0.5001 * d[j / (super ? 256 : 32)], "%s: activation %g became %g",
                  hybrid_type_name(type), x[i * k + j], v);
        }
        for (r = 0; r < ROWS; r++) {
            double sum = 0, size = 0, largest = 0;
            CHECK(hybrid_dequantize(type, w.at + (size_t)r * row_bytes, values, (size_t)k, NULL) == HYBRID_OK,
                  "dequantize");
            for (j = 0; j < k; j++) largest = fmax(largest, fabs(values[j]));
            for (j = 0; j < k; j++) {
                double v = (double)d[j / (super ? 256 : 32)] * (signed char)act[j];
                sum += v * values[j];
                size += fabs(v) * largest;
            }
            CHECK(fabs(sum - y[i * ROWS + r]) <= 3e-7 * size, "%s k %d row %d: %g, should be %g (+- %g)",
                  hybrid_type_name(type), (int)k, r, y[i * ROWS + r], sum, 3e-7 * size);
        }
    }
    free(act);
    free(values);
    free(x);
    edge_free(&w);
}

static void compare(const char *isa, const hyb_matmul_kernel *kernel, hybrid_type type, int64_t k, int rows, int n,
                    int weights, int acts)
{
    const hyb_matmul_kernel *generic = hyb_int_kernel_for(HYB_ISA_GENERIC, type);
    size_t row_bytes = hybrid_type_row_bytes(type, (size_t)k), size = row_bytes * (size_t)rows,
           count = n < 0 ? (size_t)-n : (size_t)HYB_MAX(n, 1);
    edge w = edge_make(size, rng() % 3 != 0);
    float *x = (float *)malloc((size_t)k * count * sizeof *x);
    float *want = (float *)malloc(count * (size_t)rows * sizeof *want),
          *got = (float *)malloc(count * (size_t)rows * sizeof *got);
    int split = rng() % 2 ? 0 : (int)(rng() % (unsigned)rows);
    fill_weights(type, w.at, size, weights);
    fill_acts(x, (size_t)k * count, acts);
    product(generic, w.at, row_bytes, k, x, (int)count, want, rows, 0);
    product(kernel, w.at, row_bytes, k, x, n, got, rows, split);
    CHECK(same(want, got, count * (size_t)rows, weights == WEIGHTS_NAN),
          "%s %s %s: k %d, rows %d (split at %d), n %d, weights %d, acts %d", isa, hybrid_type_name(type),
          n < 0 ? "few" : n ? "gemm" : "gemv", (int)k, rows, split, n, weights, acts);
    free(got);
    free(want);
    free(x);
    edge_free(&w);
}

/* 2 to HYB_MATMUL_FEW rows of x at a time. */
static void test_few(const char *isa, const hyb_matmul_kernel *kernel, hybrid_type type)
{
    static const int rows[] = { 1, 2, 3, 16, 17, 50 };
    const int64_t unit = (int64_t)hybrid_type_block_size(type);
    int64_t k;
    int n, i, j;
    if (!kernel->few) return;
    for (n = -HYB_MATMUL_FEW; n <= -2; n++) {
        for (k = 1; k <= 19; k++)
            for (i = 0; i < (int)HYB_COUNT(rows); i++)
                compare(isa, kernel, type, k * unit, rows[i], n, WEIGHTS_RANDOM, ACTS_OUTLIERS);
        for (i = 0; i < 5; i++)
            for (j = 0; j < 5; j++) compare(isa, kernel, type, 2304, 21, n, i, j);
        compare(isa, kernel, type, 11008, 9, n, WEIGHTS_RANDOM, ACTS_OUTLIERS);
    }
}

/* One kernel set, all shapes. n = 0 is gemv. */
static void test_kernel(const char *isa, const hyb_matmul_kernel *kernel, hybrid_type type)
{
    static const int ns[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 70 };
    static const int rows[] = { 1, 2, 3, 15, 16, 17, 32, 33, 50, 67 };
    int64_t unit = (int64_t)hybrid_type_block_size(type), k;
    int i, j;
    for (k = 1; k <= 19; k++) compare(isa, kernel, type, k * unit, 7, 0, WEIGHTS_RANDOM, ACTS_OUTLIERS);
    for (k = 1; k <= 9; k++) /* rows of fewer than 8 super-blocks go eight at a time */
        for (i = 0; i < 5; i++) compare(isa, kernel, type, k * unit, 35, 0, i, i % 4);
    for (k = 4; k <= 36 && unit == 1; k += 4) /* rows of whole vectors, up to 32 values, have their sums in common */
        for (i = 0; i < 5; i++) compare(isa, kernel, type, k, 37, 0, i, (i + (int)k) % 4);
    for (k = 1; k <= 19; k++) compare(isa, kernel, type, k * unit, 19, 3, WEIGHTS_RANDOM, ACTS_OUTLIERS);
    for (i = 0; i < (int)HYB_COUNT(ns); i++) {
        for (j = 0; j < (int)HYB_COUNT(rows); j++)
            compare(isa, kernel, type, (int64_t)(1 + rng() % 4) * 256, rows[j], ns[i], WEIGHTS_RANDOM, ACTS_RANDOM);
        compare(isa, kernel, type, 896 / unit * unit, 35, ns[i], WEIGHTS_RANDOM, ACTS_OUTLIERS);
        compare(isa, kernel, type, 2048, 17, ns[i], WEIGHTS_RANDOM, ACTS_OUTLIERS);
    }
    for (i = 0; i < 5; i++)
        for (j = 0; j < 5; j++) {
            compare(isa, kernel, type, 2304, 21, 0, i, j);
            compare(isa, kernel, type, 2304, 35, 19, i, j);
        }
    compare(isa, kernel, type, 11008, 9, 0, WEIGHTS_RANDOM, ACTS_OUTLIERS);
    compare(isa, kernel, type, 11008, 18, 20, WEIGHTS_RANDOM, ACTS_OUTLIERS);
    test_few(isa, kernel, type);
}

/* A repacked matrix against the reference, where this set of instructions has the layout. Rows may end anywhere: the
 * copy has groups of 8. */
static void compare_repacked(hyb_isa isa, hybrid_type type, int64_t k, int rows, int weights, int acts)
{
    const hyb_repack *repack = hyb_repack_for(isa, type);
    const hyb_act_format *format = hyb_int_kernel_for(isa, type)->one;
    const int whole = rows / 8 * 8, split = (int)(rng() % (unsigned)(whole / 8 + 1)) * 8;
    const size_t row_bytes = hybrid_type_row_bytes(type, (size_t)k), size = row_bytes * (size_t)whole;
    edge w = edge_make(size, rng() % 3 != 0), to = edge_make(size, true);
    float *x = (float *)malloc((size_t)k * sizeof *x), *want = (float *)malloc((size_t)whole * sizeof *want);
    float *got = (float *)malloc((size_t)(whole + 2) * sizeof *got);
    char *raw = (char *)malloc(format->bytes(k) + 64), *act = raw + (64 - (uintptr_t)raw % 64) % 64;
    fill_weights(type, w.at, size, weights);
    fill_acts(x, (size_t)k, acts);
    memset(to.at, 0x55, size);
    product(hyb_int_kernel_for(HYB_ISA_GENERIC, type), w.at, row_bytes, k, x, 1, want, whole, 0);
    format->prepare(x, k, act);
    got[0] = got[whole + 1] = 12345.0f;
    repack->lay(w.at, row_bytes, k, split, whole, to.at);
    repack->lay(w.at, row_bytes, k, 0, split, to.at);
    repack->gemv(to.at, row_bytes, k, act, got + 1, 0, split);
    repack->gemv(to.at, row_bytes, k, act, got + 1 + split, split, whole);
    CHECK(same(want, got + 1, (size_t)whole, weights == WEIGHTS_NAN),
          "%s repacked: k %d, rows %d (split at %d), weights %d, acts %d", hybrid_type_name(type), (int)k, whole, split,
          weights, acts);
    CHECK(got[0] == 12345.0f && got[whole + 1] == 12345.0f, "wrote beyond the rows");
    free(raw);
    free(got);
    free(want);
    free(x);
    edge_free(&w);
    edge_free(&to);
}
static void test_repacked(hyb_isa isa, hybrid_type type)
{
    int64_t unit = (int64_t)hybrid_type_block_size(type), k;
    int i, j;
    if (!hyb_repack_for(isa, type)) return;
    TEST("repacked");
    for (k = 1; k <= 19; k++)
        compare_repacked(isa, type, k * unit, 8 + (int)(rng() % 24), WEIGHTS_RANDOM, ACTS_OUTLIERS);
    for (i = 0; i < 5; i++)
        for (j = 0; j < 4; j++) compare_repacked(isa, type, 2304, 21, i, j);
    compare_repacked(isa, type, 11008, 9, WEIGHTS_RANDOM, ACTS_OUTLIERS);
}

/* The driver: all threads, several matrices of several types, bias and accumulation. */
static void test_driver(int threads, int n, int64_t k, hyb_isa isa)
{
    static const int rows[4] = { 300, 67, 1, 129 };
    const int64_t unit = k % 256 ? 32 : 256;
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    hyb_op_matmul op;
    hyb_tensor w[4];
    /* halves: the same row of 1.5 for every row of x */
    float *x = (float *)malloc((size_t)k * (size_t)n * sizeof *x), bias[300], halves[300];
    float *y[4], *want = (float *)malloc((size_t)n * 300 * sizeof *want);
    size_t bytes;
    char *scratch, *repacked[4];
    int i, j, r;
    memset(&desc, 0, sizeof desc);
    memset(&op, 0, sizeof op);
    memset(w, 0, sizeof w);
    desc.n_threads = threads;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "runtime");
    fill_acts(x, (size_t)k * (size_t)n, ACTS_OUTLIERS);
    for (i = 0; i < 300; i++) {
        bias[i] = rng_float();
        halves[i] = 1.5f;
    }
    op.x = x;
    op.x_stride = k;
    op.n = n;
    op.n_out = 4;
    for (i = 0; i < 4; i++) {
        w[i].type = unit == 32 ? types[rng() % 5] : types[rng() % 10];
        w[i].ne[0] = k;
        w[i].ne[1] = rows[i];
        w[i].ne[2] = w[i].ne[3] = 1;
        w[i].nb[1] = hybrid_type_row_bytes(w[i].type, (size_t)k);
        w[i].data = malloc(w[i].nb[1] * (size_t)rows[i]);
        fill_weights(w[i].type, (char *)(uintptr_t)w[i].data, w[i].nb[1] * (size_t)rows[i], WEIGHTS_RANDOM);
        repacked[i] = hyb_repack_for(isa, w[i].type) && rng() % 3
                          ? (char *)malloc(w[i].nb[1] * (size_t)(rows[i] / 8 * 8) + 1)
                          : NULL;
        if (repacked[i])
            hyb_repack_for(isa, w[i].type)
                ->lay((const char *)w[i].data, w[i].nb[1], k, 0, rows[i] / 8 * 8, repacked[i]);
        y[i] = (float *)malloc((size_t)n * (size_t)(rows[i] + i) * sizeof(float));
        for (j = 0; j < n * (rows[i] + i); j++) y[i][j] = i == 3 ? 99.0f : 1.5f;
        op.out[i].w = &w[i];
        op.out[i].y = y[i];
        op.out[i].y_stride = rows[i] + i;
        op.out[i].add = i == 1 ? y[i] : i == 3 ? halves : NULL; /* in place, and from elsewhere */
        op.out[i].add_stride = i == 1 ? op.out[i].y_stride : 0;
        op.out[i].bias = i >= 2 ? bias : NULL;
    }
    bytes = hyb_matmul_bytes(isa, threads, &op); /* a plan does not know what will be repacked */
    for (i = 0; i < 4; i++) w[i].repacked = repacked[i];
    scratch = (char *)hyb_alloc_aligned(rt, bytes + 8);
    memset(scratch + bytes, 0x77, 8);
    hyb_matmul_run(rt, isa, scratch, &op);
    for (i = 0; i < 8; i++) CHECK(scratch[bytes + (size_t)i] == 0x77, "scratch overrun");
    for (i = 0; i < 4; i++) {
        bool ok = true;
        product(hyb_int_kernel_for(HYB_ISA_GENERIC, w[i].type), (const char *)w[i].data, w[i].nb[1], k, x, n, want,
                rows[i], 0);
        for (j = 0; j < n; j++)
            for (r = 0; r < rows[i]; r++) {
                float v = want[j * rows[i] + r];
                if (i >= 2) v += bias[r];
                if (i % 2) v += 1.5f;
                ok = ok && hyb_f32_bits(v) == hyb_f32_bits(y[i][j * (rows[i] + i) + r]);
            }
        CHECK(ok, "%s, %d threads, n %d, k %d, matrix %d of type %s", hyb_isa_name(isa), threads, n, (int)k, i,
              hybrid_type_name(w[i].type));
        free((void *)(uintptr_t)w[i].data);
        free(repacked[i]);
        free(y[i]);
    }
    hyb_free_aligned(rt, scratch);
    hybrid_runtime_destroy(rt);
    free(want);
    free(x);
}

/* A type that no instruction set has kernels for: the bits of the matrix that it decodes to, with any number of threads
 * and of rows. */
static void test_decoded(hybrid_type type, int threads, int n, int64_t k, int rows, hyb_isa isa)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    hyb_op_matmul op;
    hyb_tensor w[2];
    const size_t values = (size_t)k * (size_t)rows, bytes = hybrid_type_row_bytes(type, values);
    float *x = (float *)malloc((size_t)k * (size_t)n * sizeof *x), *floats = (float *)malloc(values * sizeof *floats);
    float *bias = (float *)malloc((size_t)rows * sizeof *bias), *y[2];
    edge blocks = edge_make(bytes, rng() % 2 != 0);
    size_t scratch_bytes;
    char *scratch;
    int i, j;
    memset(&desc, 0, sizeof desc);
    memset(&op, 0, sizeof op);
    memset(w, 0, sizeof w);
    desc.n_threads = threads;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "runtime");
    fill_acts(floats, values, ACTS_OUTLIERS);
    CHECK(!hybrid_quantize(type, floats, blocks.at, values, NULL, NULL), "%s: encode", hybrid_type_name(type));
    CHECK(!hybrid_dequantize(type, blocks.at, floats, values, NULL), "%s: decode", hybrid_type_name(type));
    fill_acts(x, (size_t)k * (size_t)n, ACTS_OUTLIERS);
    fill_acts(bias, (size_t)rows, ACTS_RANDOM);
    op.x = x;
    op.x_stride = k;
    op.n = n;
    op.n_out = 2;
    for (i = 0; i < 2; i++) {
        w[i].type = i ? HYBRID_TYPE_F32 : type;
        w[i].ne[0] = k;
        w[i].ne[1] = rows;
        w[i].ne[2] = w[i].ne[3] = 1;
        w[i].nb[1] = hybrid_type_row_bytes(w[i].type, (size_t)k);
        w[i].data = i ? (const void *)floats : blocks.at;
        y[i] = (float *)malloc((size_t)n * (size_t)rows * sizeof(float));
        for (j = 0; j < n * rows; j++) y[i][j] = 3.0f;
        op.out[i].w = &w[i];
        op.out[i].y = y[i];
        op.out[i].y_stride = rows;
        op.out[i].bias = bias;
        op.out[i].add = rows % 2 ? y[i] : NULL;
        op.out[i].add_stride = rows;
    }
    scratch_bytes = hyb_matmul_bytes(isa, threads, &op);
    scratch = (char *)hyb_alloc_aligned(rt, scratch_bytes + 8);
    memset(scratch + scratch_bytes, 0x77, 8);
    hyb_matmul_run(rt, isa, scratch, &op);
    for (i = 0; i < 8; i++) CHECK(scratch[scratch_bytes + (size_t)i] == 0x77, "scratch overrun");
    CHECK(!memcmp(y[0], y[1], (size_t)n * (size_t)rows * sizeof(float)), "%s, %s, %d threads, n %d, k %d, %d rows",
          hyb_isa_name(isa), hybrid_type_name(type), threads, n, (int)k, rows);
    for (i = 0; i < 2; i++) free(y[i]);
    hyb_free_aligned(rt, scratch);
    hybrid_runtime_destroy(rt);
    edge_free(&blocks);
    free(bias);
    free(floats);
    free(x);
}
/* What is planned for each of two matrices is enough for an op with both, whatever their types. */
static void test_planned(void)
{
#define TYPE_ID(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
    static const hybrid_type all[] = { HYB_TYPES(TYPE_ID) };
#undef TYPE_ID
    hybrid_runtime *rt = NULL;
    hyb_tensor w[2];
    hyb_limits limits;
    hyb_op_matmul op;
    size_t planned, used;
    int a, b, i, n;
    TEST("planned");
    CHECK(hybrid_runtime_create(NULL, &rt, NULL) == HYBRID_OK, "runtime");
    for (a = 0; a < (int)HYB_COUNT(all); a++)
        for (b = 0; b < (int)HYB_COUNT(all); b++)
            for (n = 1; n < 60; n = n * 3 + 2) {
                memset(w, 0, sizeof w);
                memset(&limits, 0, sizeof limits);
                memset(&op, 0, sizeof op);
                limits.n_rows = op.n = n;
                op.n_out = 2;
                for (i = 0; i < 2; i++) {
                    w[i].type = all[i ? b : a];
                    w[i].ne[0] = 2048;
                    w[i].ne[1] = i ? 900 : 40;
                    w[i].ne[2] = w[i].ne[3] = 1;
                    op.out[i].w = &w[i];
                    CHECK(hyb_cpu_limits_matrix(rt, &limits, &w[i]), "%s", hybrid_type_name(w[i].type));
                }
                planned = limits.kernels_bytes + limits.decoded_bytes + limits.tiles_bytes;
                for (i = 0; i < limits.n_formats; i++) planned += limits.format_bytes[i];
                used = hyb_matmul_bytes(rt->isa, hyb_lanes(rt), &op);
                CHECK(used <= planned, "%s and %s, n %d: %d bytes, planned %d", hybrid_type_name(all[a]),
                      hybrid_type_name(all[b]), n, (int)used, (int)planned);
            }
    hybrid_runtime_destroy(rt);
}

static void test_decoded_types(hyb_isa isa)
{
#define TYPE_ID(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
    static const hybrid_type blocks[] = { HYB_BLOCK_TYPES(TYPE_ID) };
    static const int ns[] = { 1, 2, 3, 5, 8, 9, 16, 37 };
    int t, i, seen = 0;
    TEST("decoded");
    for (t = 0; t < (int)HYB_COUNT(blocks); t++) {
        const int64_t unit = (int64_t)hybrid_type_block_size(blocks[t]);
        if (hyb_int_kernel_for(HYB_ISA_GENERIC, blocks[t])) continue;
        seen++;
        for (i = 0; i < (int)HYB_COUNT(ns); i++) {
            test_decoded(blocks[t], 1 + i % 3, ns[i], 512, 300, isa);
            test_decoded(blocks[t], 1 + (i + 1) % 3, ns[i], unit, 67, isa);
            test_decoded(blocks[t], 1 + (i + 2) % 3, ns[i], (int64_t)(1 + rng() % 9) * unit, 1 + (int)(rng() % 40),
                         isa);
        }
        test_decoded(blocks[t], 2, 1, 11008, 9, isa); /* a row is more than what is decoded at once */
        test_decoded(blocks[t], 2, 20, 11008, 35, isa);
    }
    CHECK(seen + N_TYPES == (int)HYB_COUNT(blocks), "%d types are decoded, and %d have kernels", seen, (int)N_TYPES);
}

#if defined(HYB_X86)
/* The kernels of AVX-VNNI with vpdpbusd as AVX2 can do it: their text is tested on processors that do not have it. */
HYB_INLINE HYB_TARGET_AVX2 __m256i dpbusd_in_avx2(__m256i acc, __m256i w, __m256i x)
{
    const __m256i even = _mm256_set1_epi16(0xFF), one = _mm256_set1_epi16(1);
    __m256i lo = _mm256_mullo_epi16(_mm256_and_si256(w, even), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    __m256i hi = _mm256_mullo_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8)); /* at most 255 * 128: fits */
    return _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(lo, one), _mm256_madd_epi16(hi, one)));
}
    #define HYB_D_FN(name)          emulated_##name
    #define HYB_D_KERNEL(type)      hyb_kernel_emulated_##type
    #define HYB_D_TARGET            HYB_TARGET_AVX2
    #define HYB_D_START(e, offset)  _mm256_madd_epi16(e, offset)
    #define HYB_D_DOT(acc, w, x)    acc = dpbusd_in_avx2(acc, w, x)
    #define HYB_D_WIDE(acc)         (acc)
    #define HYB_D_SCALE(acc, scale) _mm256_mullo_epi32(acc, _mm256_srai_epi32(scale, 16))
    #define HYB_D_Q8_0_UNPACK       hyb_byte_q8_0_plus128
    #define HYB_D_Q8_0_TILE         emulated_tile32_plain
    #define HYB_D_Q8_0_OFFSET       128
    #include "../src/compute/cpu/int/tile.inc"

/* And vpdpbusd itself: all pairs of bytes, where a saturating product would differ. */
HYB_TARGET_AVX2 static void test_dpbusd(void)
{
    int w, x, i, bad = 0;
    for (w = 0; w < 256; w++)
        for (x = -128; x < 128; x++) {
            int32_t sums[8];
            __m256i acc = dpbusd_in_avx2(_mm256_set1_epi32(1000), _mm256_set1_epi8((char)w), _mm256_set1_epi8((char)x));
            _mm256_storeu_si256((__m256i *)(void *)sums, acc);
            for (i = 0; i < 8; i++) bad += sums[i] != 1000 + 4 * w * x;
        }
    CHECK(!bad, "%d sums differ", bad);
}

static void test_emulated(void)
{
    TEST("AVX-VNNI's kernels, emulated");
    test_dpbusd();
    #define T(id, type) test_kernel("emulated avxvnni", &hyb_kernel_emulated_##type, HYBRID_TYPE_##id);
    T(Q4_0, q4_0)
    T(Q4_1, q4_1)
    T(Q5_0, q5_0) T(Q5_1, q5_1) T(Q8_0, q8_0) T(Q2_K, q2_K) T(Q3_K, q3_K) T(Q4_K, q4_K) T(Q5_K, q5_K) T(Q6_K, q6_K)
    #undef T
}
#endif

/* Of the kernels those of this run's share. */
static bool test_wanted_kernel(const char *isa, hybrid_type type)
{
    char name[96];
    snprintf(name, sizeof name, "%s %s", isa, hybrid_type_name(type));
    return test_wanted(name) != 0;
}

int main(void)
{
    static const int ns[] = { 1, 2, 5, 16, 37 };
    const char *slow = getenv("HYBRID_SANITIZER");
    /* what another machine has seen of the kernels that are plain C */
    const bool emulator = slow && !strcmp(slow, "emulator");
    hyb_isa best = hyb_cpu_isa(), isa;
    int t, i, threads;
    test_planned();
    for (t = 0; t < N_TYPES; t++) {
        int64_t unit = (int64_t)hybrid_type_block_size(types[t]);
        TEST("generic against double");
        test_generic(types[t], unit);
        if (emulator) continue;
        test_generic(types[t], unit * 3);
        test_generic(types[t], 2048);
    }
    for (isa = HYB_ISA_GENERIC; isa < HYB_ISA_COUNT; isa = (hyb_isa)(isa + 1)) {
        if (hyb_isa_limit(isa, best) != isa) {
            if (isa != HYB_ISA_NEON && best != HYB_ISA_NEON)
                SKIP_PROCESSOR("this machine has no %s", hyb_isa_name(isa));
            continue;
        }
        if (emulator && isa == HYB_ISA_GENERIC && best != HYB_ISA_GENERIC) continue;
        TEST(hyb_isa_name(isa));
        for (t = 0; t < N_TYPES; t++)
            if (test_wanted_kernel(hyb_isa_name(isa), types[t]))
                test_kernel(hyb_isa_name(isa), hyb_int_kernel_for(isa, types[t]), types[t]);
#if defined(HYB_AMX)
        if (isa == HYB_ISA_AVX512) { /* above: what the machine takes; here: both sets */
            TEST("avx512 without AMX");
            for (t = 0; t < N_TYPES; t++)
                if (test_wanted_kernel("avx512 without AMX", types[t]))
                    test_kernel("avx512 without AMX", hyb_int_kernel_of(isa, false, types[t]), types[t]);
            TEST("AMX");
            if (!hyb_amx_usable())
                SKIP_PROCESSOR("this machine has no AMX");
            else
                for (t = 0; t < N_TYPES; t++)
                    if (test_wanted_kernel("AMX", types[t]))
                        test_kernel("AMX", hyb_int_kernel_of(isa, true, types[t]), types[t]);
        }
#endif
#if defined(HYB_NEON_DOT)
        if (isa == HYB_ISA_NEON) { /* as above */
            TEST("neon without dot products");
            for (t = 0; t < N_TYPES; t++)
                if (test_wanted_kernel("neon without dot products", types[t]))
                    test_kernel("neon without dot products", hyb_int_kernel_of(isa, false, types[t]), types[t]);
        }
#endif
#if defined(HYB_X86)
        if (isa == HYB_ISA_AVX2) test_emulated();
#endif
        for (t = 0; t < N_TYPES; t++) test_repacked(isa, types[t]);
        test_decoded_types(isa);
        TEST("driver");
        for (threads = 1; threads <= 3; threads += emulator ? 2 : 1)
            for (i = 0; i < (int)HYB_COUNT(ns); i++) {
                test_driver(threads, ns[i], 512, isa);
                test_driver(threads, ns[i], 896 - 32 * threads, isa);
            }
    }
    return test_end();
}
