/* The ops matmul and experts on a GPU, or on the emulated one [emu] [emu-reordered] [emu-check] [no-asan], against
 * dequantized weights in double precision: every type, odd sizes, every path: 1 row, few rows, many rows by tensor
 * cores, sliced scratch; of experts one by one, and sorted. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "../src/quant/types.inc"
#include "check.h"

#define TYPE_ID(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
static const hybrid_type types[] = { HYB_TYPES(TYPE_ID) };
enum { N_TYPES = (int)(sizeof types / sizeof types[0]) };

static uint64_t rng_state = 1;
static uint32_t rng(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33);
}
static float rng_float(void) { return (float)rng() / 1073741824.0f - 1.0f; }

static hyb_cuda *cu;
static hyb_cuda_queue *queue;

static void *device_copy(const void *host, size_t bytes)
{
    void *address = NULL;
    hybrid_error error;
    CHECK(hyb_cuda_alloc(cu, bytes, &address, &error) == HYBRID_OK, "%s", error.message);
    if (host && address) hyb_cuda_write(queue, address, host, bytes);
    return address;
}

/* A matrix: the file's bytes on the device, and what they mean. */
typedef struct matrix {
    hyb_tensor w;
    float *values;
    void *blocks;
    int64_t k, out;
} matrix;

static matrix matrix_make(hybrid_type type, int64_t k, int64_t out)
{
    matrix m;
    const hyb_type_traits *traits = hyb_type_info(type);
    size_t row = hybrid_type_row_bytes(type, (size_t)k);
    float *random_row = (float *)malloc((size_t)k * sizeof(float));
    int64_t r, i;
    memset(&m, 0, sizeof m);
    m.k = k;
    m.out = out;
    m.blocks = malloc(row * (size_t)out);
    m.values = (float *)malloc((size_t)(k * out) * sizeof(float));
    for (r = 0; r < out; r++) {
        /* blocks of unlike scales and offsets */
        for (i = 0; i < k; i++) random_row[i] = (rng_float() + 0.25f * (float)(r % 3)) * (float)(1 + i / 16 % 5);
        traits->quantize_row(random_row, (char *)m.blocks + (size_t)r * row, (size_t)k, NULL);
        traits->dequantize_row((char *)m.blocks + (size_t)r * row, m.values + r * k, (size_t)k);
    }
    free(random_row);
    m.w.name = "w";
    m.w.type = type;
    m.w.ne[0] = k;
    m.w.ne[1] = out;
    m.w.ne[2] = m.w.ne[3] = 1;
    m.w.nb[0] = traits->block_bytes;
    m.w.nb[1] = row;
    m.w.nb[2] = m.w.nb[3] = row * (size_t)out;
    m.w.data = device_copy(m.blocks, row * (size_t)out);
    return m;
}
static void matrix_free(matrix *m)
{
    hyb_cuda_free(cu, (void *)(uintptr_t)m->w.data);
    free(m->values);
    free(m->blocks);
}

/* How far a result may be from the exact one, in units of |row of W| * |row of x|.
 * 8-bit activations: each value is off by at most 1/254 of the largest of its 32, which for a uniform distribution is
 * 0.4 % of the norm if all errors agree in sign. Halves (and bf16): both factors rounded, 2 * 2^-11 (2^-9) at worst.
 * float32: sums of up to 4864 in some order. */
static double tolerance(hybrid_type type, int n)
{
    if (type == HYBRID_TYPE_F32) return 1e-5;
    if (!hyb_cuda_is_few(type, n)) return 2e-3;
    return hyb_cuda_is_float(type) ? 1e-5 : 4e-3;
}

static bool elsewhere; /* what is added does not lie where the sum goes */

/* One op: n_out matrices of (out[i], k) and these types with n rows; scratch is `cut` of what is asked for. */
static void product(const hybrid_type *type, const int64_t *out, int n_out, int64_t k, int n, bool bias, bool add,
                    double cut)
{
    matrix m[4];
    hyb_op_matmul op;
    hybrid_error error;
    int64_t x_stride = k + 5, y_stride[4], i, r, c;
    float *x = (float *)malloc((size_t)(n * x_stride) * sizeof(float)), *y0[4], *y[4], *b[4];
    size_t scratch_bytes = 0, y_bytes[4];
    void *x_device, *scratch;
    int j;
    memset(&op, 0, sizeof op);
    for (i = 0; i < n * x_stride; i++) x[i] = rng_float() * (float)(1 + i / 32 % 3);
    x_device = device_copy(x, (size_t)(n * x_stride) * sizeof(float));
    op.x = (const float *)x_device;
    op.x_stride = x_stride;
    op.n = n;
    op.n_out = n_out;
    for (j = 0; j < n_out; j++) {
        size_t need = hyb_cuda_matmul_scratch(type[j], k, out[j], n, cu->cc);
        if (need > scratch_bytes) scratch_bytes = need;
        m[j] = matrix_make(type[j], k, out[j]);
        y_stride[j] = out[j] + 3;
        y_bytes[j] = (size_t)(n * y_stride[j]) * sizeof(float);
        y0[j] = (float *)malloc(y_bytes[j]);
        y[j] = (float *)malloc(y_bytes[j]);
        b[j] = (float *)malloc((size_t)out[j] * sizeof(float));
        for (i = 0; i < n * y_stride[j]; i++) y0[j][i] = rng_float() * 10;
        for (i = 0; i < out[j]; i++) b[j][i] = rng_float() * 10;
        op.out[j].w = &m[j].w;
        op.out[j].bias = bias ? (const float *)device_copy(b[j], (size_t)out[j] * sizeof(float)) : NULL;
        op.out[j].y = (float *)device_copy(y0[j], y_bytes[j]);
        op.out[j].y_stride = y_stride[j];
        if (add) { /* what is there, or what lies elsewhere */
            op.out[j].add = op.out[j].y;
            op.out[j].add_stride = y_stride[j];
            if (j % 2 || out[j] % 3 == 0 || elsewhere) {
                float *junk = (float *)malloc(y_bytes[j]);
                for (i = 0; i < n * y_stride[j]; i++) junk[i] = i % y_stride[j] < out[j] ? 1234 : y0[j][i];
                op.out[j].add = (const float *)device_copy(y0[j], y_bytes[j]);
                hyb_cuda_write(queue, op.out[j].y, junk, y_bytes[j]);
                free(junk);
            }
        }
    }
    if (cut < 1) { /* fewer rows of W at a time: x, and some rows */
        size_t x_bytes = hyb_cuda_x_bytes(n, k), row = (size_t)hyb_cuda_pad(k) * 2,
               part = (size_t)((double)(scratch_bytes - x_bytes) * cut);
        scratch_bytes = x_bytes + (part > row ? part : row);
    }
    scratch = device_copy(NULL, scratch_bytes);
    hyb_cuda_matmul(queue, &op, scratch, scratch_bytes);
    for (j = 0; j < n_out; j++) hyb_cuda_read(queue, y[j], op.out[j].y, y_bytes[j]);
    CHECK(hyb_cuda_sync(queue, &error) == HYBRID_OK, "%s", error.message);
    for (j = 0; j < n_out; j++) {
        double worst = 0, limit = tolerance(type[j], n);
        int64_t at_row = 0, at_column = 0;
        bool untouched = true;
        for (r = 0; r < n; r++) {
            for (c = 0; c < out[j]; c++) {
                double sum = 0, ww = 0, xx = 0, off;
                for (i = 0; i < k; i++) {
                    double w = m[j].values[c * k + i], v = x[r * x_stride + i];
                    sum += w * v;
                    ww += w * w;
                    xx += v * v;
                }
                sum += (bias ? b[j][c] : 0) + (add ? y0[j][r * y_stride[j] + c] : 0);
                off = fabs(y[j][r * y_stride[j] + c] - sum) / (sqrt(ww * xx) + 1e-3);
                if (!(off <= worst)) {
                    worst = off;
                    at_row = r;
                    at_column = c;
                }
            }
            for (c = out[j]; c < y_stride[j]; c++)
                untouched = untouched && memcmp(&y[j][r * y_stride[j] + c], &y0[j][r * y_stride[j] + c], 4) == 0;
        }
        CHECK(worst <= limit, "%s (%d, %d) n %d bias %d add %d: %g of the norms at row %d, column %d (limit %g)",
              hybrid_type_name(type[j]), (int)out[j], (int)k, n, bias, add, worst, (int)at_row, (int)at_column, limit);
        CHECK(untouched, "%s (%d, %d) n %d: wrote beyond a row", hybrid_type_name(type[j]), (int)out[j], (int)k, n);
        hyb_cuda_free(cu, (void *)(uintptr_t)op.out[j].bias);
        if (op.out[j].add != op.out[j].y) hyb_cuda_free(cu, (void *)(uintptr_t)op.out[j].add);
        hyb_cuda_free(cu, op.out[j].y);
        matrix_free(&m[j]);
        free(y0[j]);
        free(y[j]);
        free(b[j]);
    }
    hyb_cuda_free(cu, x_device);
    hyb_cuda_free(cu, scratch);
    free(x);
}

static void one(hybrid_type type, int64_t out, int64_t k, int n, bool bias, bool add)
{
    product(&type, &out, 1, k, n, bias, add, 1);
}

static bool of_256(hybrid_type type) { return hybrid_type_block_size(type) == 256; }

static void test_few_rows(void)
{
    static const int64_t k_32[] = { 32, 64, 288, 896, 1056 }, k_256[] = { 256, 512, 768, 1280, 2304 },
                         outs[] = { 1, 3, 17, 64, 151, 6 };
    static const int rows[] = { 1, 1, 1, 2, 3, 8, 16, 33 };
    int t, i;
    TEST("few rows");
    for (t = 0; t < N_TYPES; t++)
        for (i = 0; i < 8; i++) {
            int pick = (t + i) % 5;
            int64_t k = of_256(types[t]) ? k_256[pick] : k_32[pick];
            int n = rows[i] > 32 && t % 3 ? 16 : rows[i];     /* every size of kernel is compiled: not all for all */
            if (hyb_cuda_is_float(types[t]) && i % 2) k += 3; /* odd rows */
            one(types[t], outs[(t + 5 * i) % 6], k, n, i % 3 == 1, i % 4 == 2);
        }
}

static void test_long_rows(void)
{
    int t;
    TEST("long rows");
    /* the same text for all: half of them will do */
    for (t = 0; t < N_TYPES; t += 2) one(types[t], 5, of_256(types[t]) ? 9472 : 9632, 1, true, false);
}

static void test_many_rows(const char *by)
{
    static const int rows[] = { 17, 65, 70, 130 };
    static const int64_t outs[] = { 17, 64, 151, 3 };
    int t, i;
    TEST(by);
    for (t = 0; t < N_TYPES; t++)
        for (i = 0; i < 3; i++) {
            int64_t k = of_256(types[t]) ? (i % 2 ? 512 : 256) : i == 0 ? 32 : i == 1 ? 288 : 64;
            if (hyb_cuda_is_float(types[t]) && i == 1) k += 5;
            elsewhere = types[t] == HYBRID_TYPE_F32;
            one(types[t], outs[(t + i) % 4], k, rows[(t + i) % 4], i % 2 == 0, i == 1);
            elsewhere = false;
        }
}

static void test_several(void)
{
    static const hybrid_type same[] = { HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q4_0 },
                             mixed[] = { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K };
    static const hybrid_type floats[] = { HYBRID_TYPE_BF16, HYBRID_TYPE_Q8_0, HYBRID_TYPE_F16, HYBRID_TYPE_F32 };
    static const int64_t outs[] = { 64, 7, 16, 5 };
    static const int rows[] = { 1, 20, 66 };
    int i;
    TEST("several matrices");
    for (i = 0; i < 3; i++) {
        product(same, outs, 3, 288, rows[i], true, false, 1);
        product(mixed, outs, 3, 512, rows[i], false, true, 1);
        product(floats, outs, 4, 64, rows[i], true, true, 1);
    }
}

static void test_slices(void)
{
    static const hybrid_type type = HYBRID_TYPE_Q5_1;
    static const int64_t out = 200;
    TEST("slices of W");
    product(&type, &out, 1, 64, 68, true, false, 0.3);
    product(&type, &out, 1, 64, 68, true, true, 0);
}

/* The gradient of what a product read, with room for 7 rows of W as floats, and for all. */
static void test_slices_back(void)
{
    enum { K = 64, OUT = 40, ROWS = 9 };
    matrix m = matrix_make(HYBRID_TYPE_Q5_1, K, OUT);
    const size_t all = hyb_cuda_back_scratch(HYBRID_TYPE_Q5_1, K, OUT), bytes = ROWS * K * sizeof(float);
    float dy[ROWS * OUT], dx[2][ROWS * K];
    double worst = 0;
    hyb_op_matmul_back_x op;
    hyb_cuda_at at;
    hybrid_error error;
    void *dy_device, *dx_device = device_copy(NULL, bytes), *scratch = device_copy(NULL, all);
    int i;
    TEST("slices of W, backwards");
    CHECK(all == OUT * K * sizeof(float), "%zu bytes", all);
    for (i = 0; i < ROWS * OUT; i++) dy[i] = rng_float();
    dy_device = device_copy(dy, sizeof dy);
    memset(&op, 0, sizeof op);
    memset(&at, 0, sizeof at);
    op.n = ROWS;
    op.n_out = 1;
    op.out[0].w = &m.w;
    op.out[0].dy = (const float *)dy_device;
    op.out[0].dy_stride = OUT;
    op.dx = (float *)dx_device;
    op.dx_stride = K;
    at.q = queue;
    at.scratch = (char *)scratch;
    for (i = 0; i < 2; i++) {
        at.scratch_bytes = i ? 7 * K * sizeof(float) : all;
        hyb_cuda_op_matmul_back_x(&at, &op);
        hyb_cuda_read(queue, dx[i], dx_device, bytes);
        CHECK(hyb_cuda_sync(queue, &error) == HYBRID_OK, "%s", error.message);
    }
    for (i = 0; i < ROWS * K; i++) worst = fmax(worst, fabs((double)dx[0][i] - dx[1][i]));
    CHECK(worst < 1e-5, "%g apart", worst);
    hyb_cuda_free(cu, dy_device);
    hyb_cuda_free(cu, dx_device);
    hyb_cuda_free(cu, scratch);
    matrix_free(&m);
}

/* A row with an infinity or a NaN gives no number; its neighbours do. */
static void test_not_a_number(void)
{
    static const hybrid_type kind[] = { HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q6_K, HYBRID_TYPE_F16, HYBRID_TYPE_F32 };
    static const int rows[] = { 1, 3, 66 };
    int t, i, j;
    TEST("not a number");
    for (t = 0; t < 4; t++)
        for (i = 0; i < 3; i++) {
            matrix m = matrix_make(kind[t], 256, 8);
            hyb_op_matmul op;
            hybrid_error error;
            int n = rows[i], numbers = 0;
            size_t scratch_bytes = hyb_cuda_matmul_scratch(kind[t], 256, 8, n, cu->cc);
            float *x = (float *)malloc((size_t)n * 256 * sizeof(float)),
                  *y = (float *)malloc((size_t)n * 8 * sizeof(float));
            void *scratch = device_copy(NULL, scratch_bytes), *x_device,
                 *y_device = device_copy(NULL, (size_t)n * 8 * sizeof(float));
            for (j = 0; j < n * 256; j++) x[j] = rng_float();
            x[100] = i == 1 ? (float)-HUGE_VAL : (float)(HUGE_VAL - HUGE_VAL);
            x_device = device_copy(x, (size_t)n * 256 * sizeof(float));
            memset(&op, 0, sizeof op);
            op.x = (const float *)x_device;
            op.x_stride = 256;
            op.n = n;
            op.n_out = 1;
            op.out[0].w = &m.w;
            op.out[0].y = (float *)y_device;
            op.out[0].y_stride = 8;
            hyb_cuda_matmul(queue, &op, scratch, scratch_bytes);
            hyb_cuda_read(queue, y, y_device, (size_t)n * 8 * sizeof(float));
            CHECK(hyb_cuda_sync(queue, &error) == HYBRID_OK, "%s", error.message);
            for (j = 0; j < n * 8; j++) numbers += y[j] - y[j] == 0;
            for (j = 0; j < 8; j++) CHECK(y[j] - y[j] != 0, "%s n %d: %g", hybrid_type_name(kind[t]), n, y[j]);
            CHECK(numbers == (n - 1) * 8, "%s n %d: %d numbers", hybrid_type_name(kind[t]), n, numbers);
            hyb_cuda_free(cu, scratch);
            hyb_cuda_free(cu, x_device);
            hyb_cuda_free(cu, y_device);
            matrix_free(&m);
            free(x);
            free(y);
        }
}

/* ---- experts ----------------------------------------------------------------------------------------------------- */

/* Which experts the rows go to: at random, all rows to the same ones, or only to a few. */
typedef enum choice { RANDOM, SAME, SKEWED } choice;

static void choose(int32_t *ids, int n, int n_used, int n_expert, choice how)
{
    int r, s, i;
    for (r = 0; r < n; r++)
        for (s = 0; s < n_used; s++) {
            int among = how == SKEWED ? (n_used + 1 < n_expert ? n_used + 1 : n_expert) : n_expert,
                id = how == SAME ? n_expert - 1 - s : (int)(rng() % (uint32_t)among);
            for (i = 0; i < s; i++)
                if (ids[r * n_used + i] == id) {
                    id = (id + 1) % among;
                    i = -1;
                }
            ids[r * n_used + s] = id;
        }
}

static double experts_tolerance(hybrid_type type, int64_t k, bool few)
{
    if (!hyb_cuda_is_float(type)) return 4e-3;
    return few || !hyb_cuda_as_it_is(type, k, cu->cc) ? 1e-5 : 2e-3;
}

/* One op with all n rows, and again with the rows from `again` on alone, which must give the same bits (again < n,
 * and both in one way). */
static void experts(const hybrid_type *type, const int64_t *out, int n_out, int64_t k, int n_expert, int n, int n_used,
                    bool each_own, choice how, int again)
{
    const int pairs = n * n_used, x_rows = each_own ? pairs : n;
    const bool few = hyb_cuda_experts_few(n, n_used, n_expert);
    matrix m[2];
    hyb_op_experts op;
    hyb_cuda_at at;
    hybrid_error error;
    const int64_t x_stride = k + (hyb_cuda_is_float(type[0]) ? 3 : 4);
    int64_t y_stride[2], i, r, c;
    float *x = (float *)malloc((size_t)(x_rows * x_stride) * sizeof(float)), *y[2], *alone[2];
    int32_t *ids = (int32_t *)malloc((size_t)pairs * sizeof(int32_t));
    size_t scratch_bytes = 0, y_bytes[2];
    void *x_device, *ids_device, *scratch;
    int j, pass;
    memset(&op, 0, sizeof op);
    for (i = 0; i < x_rows * x_stride; i++) x[i] = rng_float() * (float)(1 + i / 32 % 3);
    choose(ids, n, n_used, n_expert, how);
    x_device = device_copy(x, (size_t)(x_rows * x_stride) * sizeof(float));
    ids_device = device_copy(ids, (size_t)pairs * sizeof(int32_t));
    op.n_used = n_used;
    op.each_own = each_own;
    op.n_out = n_out;
    op.x_stride = x_stride;
    for (j = 0; j < n_out; j++) {
        const size_t need = hyb_cuda_experts_scratch(type[j], k, n_expert, n, n_used, cu->cc);
        if (need > scratch_bytes) scratch_bytes = need;
        m[j] = matrix_make(type[j], k, out[j] * n_expert);
        m[j].w.ne[1] = out[j];
        m[j].w.ne[2] = n_expert;
        m[j].w.nb[2] = m[j].w.nb[1] * (size_t)out[j];
        y_stride[j] = out[j] + 3;
        y_bytes[j] = (size_t)(pairs * y_stride[j]) * sizeof(float);
        y[j] = (float *)malloc(y_bytes[j]);
        alone[j] = (float *)malloc(y_bytes[j]);
        for (i = 0; i < pairs * y_stride[j]; i++) y[j][i] = -7;
        op.out[j].w = &m[j].w;
        op.out[j].y_stride = y_stride[j];
        op.out[j].y = (float *)device_copy(y[j], y_bytes[j]);
    }
    scratch = device_copy(NULL, scratch_bytes);
    memset(&at, 0, sizeof at);
    at.q = queue;
    at.scratch = (char *)scratch;
    at.scratch_bytes = scratch_bytes;
    for (pass = 0; pass < (again < n ? 2 : 1); pass++) {
        const int from = pass ? again : 0;
        op.x = (const float *)x_device + (each_own ? from * n_used : from) * x_stride;
        op.ids = (const int32_t *)ids_device + from * n_used;
        op.n = n - from;
        hyb_cuda_op_experts(&at, &op);
        for (j = 0; j < n_out; j++) hyb_cuda_read(queue, pass ? alone[j] : y[j], op.out[j].y, y_bytes[j]);
        CHECK(hyb_cuda_sync(queue, &error) == HYBRID_OK, "%s", error.message);
    }
    for (j = 0; j < n_out; j++) {
        double worst = 0, limit = experts_tolerance(type[j], k, few);
        int64_t at_row = 0, at_column = 0;
        bool untouched = true;
        for (r = 0; r < pairs; r++) {
            const float *values = m[j].values + ids[r] * out[j] * k, *v = x + (each_own ? r : r / n_used) * x_stride;
            for (c = 0; c < out[j]; c++) {
                double sum = 0, ww = 0, xx = 0, off;
                for (i = 0; i < k; i++) {
                    double w = values[c * k + i];
                    sum += w * v[i];
                    ww += w * w;
                    xx += (double)v[i] * v[i];
                }
                off = fabs(y[j][r * y_stride[j] + c] - sum) / (sqrt(ww * xx) + 1e-3);
                if (!(off <= worst)) {
                    worst = off;
                    at_row = r;
                    at_column = c;
                }
            }
            for (c = out[j]; c < y_stride[j]; c++) untouched = untouched && y[j][r * y_stride[j] + c] == -7;
        }
        CHECK(worst <= limit,
              "%s (%d, %d), %d rows to %d of %d experts, each_own %d: %g of the norms at row %d, column %d (limit %g)",
              hybrid_type_name(type[j]), (int)out[j], (int)k, n, n_used, n_expert, each_own, worst, (int)at_row,
              (int)at_column, limit);
        CHECK(untouched, "%s (%d, %d) n %d: wrote beyond a row", hybrid_type_name(type[j]), (int)out[j], (int)k, n);
        if (again < n)
            CHECK(memcmp(alone[j], y[j] + again * n_used * y_stride[j],
                         (size_t)((n - again) * n_used * y_stride[j]) * sizeof(float)) == 0,
                  "%s (%d, %d): rows from %d of %d on alone are not the same", hybrid_type_name(type[j]), (int)out[j],
                  (int)k, again, n);
        hyb_cuda_free(cu, op.out[j].y);
        matrix_free(&m[j]);
        free(y[j]);
        free(alone[j]);
    }
    hyb_cuda_free(cu, x_device);
    hyb_cuda_free(cu, ids_device);
    hyb_cuda_free(cu, scratch);
    free(x);
    free(ids);
}

static const int64_t expert_outs[] = { 17, 3, 33, 16, 40 };

static void test_experts_one_by_one(void)
{
    const int64_t *outs = expert_outs;
    int t;
    TEST("experts, one by one");
    /* long rows: x is quantized before */
    for (t = 3; t < N_TYPES; t += 7)
        experts(&types[t], &outs[1], 1, of_256(types[t]) ? 8448 : 8224, 3, 1, 2, t == 3, RANDOM, 1);
    for (t = 0; t < N_TYPES; t++) {
        const int64_t k = of_256(types[t]) ? 512 : hyb_cuda_is_float(types[t]) ? 100 + t : 288;
        experts(&types[t], &outs[t % 5], 1, k, 5, 1, 1 + t % 4, t % 2 == 0, RANDOM, 1);
        if (t % 3 == 0)
            experts(&types[t], &outs[(t + 1) % 5], 1, of_256(types[t]) ? 256 : 64, 32, 2, 8, t % 2 == 1, RANDOM, 1);
    }
}

static void test_experts_sorted(void)
{
    static const hybrid_type wide[] = { HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q6_K, HYBRID_TYPE_Q3_K,
                                        HYBRID_TYPE_F16,  HYBRID_TYPE_BF16, HYBRID_TYPE_F32 };
    static const int rows[] = { 45, 70, 45, 70, 75, 135, 100 };
    const int64_t *outs = expert_outs;
    int t;
    TEST("experts, sorted");
    for (t = 0; t < N_TYPES; t++) {
        const int64_t k = of_256(types[t]) ? 256 : 96;
        experts(&types[t], &outs[t % 5], 1, k, 6, 9 + t % 3, 1 + t % 3, t % 2 == 0, (choice)(t % 3), 4);
    }
    for (t = 0; t < 7; t++) { /* larger tiles, and several of one expert */
        const hybrid_type type = wide[t];
        experts(&type, &outs[(t + 2) % 5], 1,
                of_256(type)              ? 512
                : hyb_cuda_is_float(type) ? 72
                                          : 64,
                4, rows[t], 2, t % 2 == 1, t % 2 ? SAME : SKEWED, 9);
    }
    experts(&wide[4], &outs[0], 1, 45, 4, 9, 2, false, RANDOM, 4); /* halves and bf16 whose rows are not aligned */
    experts(&wide[5], &outs[0], 1, 45, 4, 9, 2, true, RANDOM, 4);
}

static void test_experts_two_matrices(void)
{
    static const hybrid_type pairs[][2] = { { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q4_K },
                                            { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K },
                                            { HYBRID_TYPE_F16, HYBRID_TYPE_BF16 },
                                            { HYBRID_TYPE_F32, HYBRID_TYPE_Q8_0 } };
    int t;
    TEST("experts, two matrices");
    for (t = 0; t < 4; t++) {
        experts(pairs[t], &expert_outs[2], 2, 256, 3, 1, 3, false, RANDOM, 1);
        /* 11 rows to an expert: tiles of 8 are not those of 64 */
        experts(pairs[t], &expert_outs[3], 2, 256, 3, 11, 2, false, SAME, 11);
    }
}

static void test_scratch(void)
{
    int t;
    TEST("scratch");
    for (t = 0; t < N_TYPES; t++) {
        size_t few = hyb_cuda_matmul_scratch(types[t], 4096, 151936, 16, 90),
               many = hyb_cuda_matmul_scratch(types[t], 4096, 151936, 512, 90);
        CHECK(few <= 16 * 4096 * 2 && many >= 512 * 4096 * 2 && many <= 512 * 4096 * 2 + ((size_t)64 << 20),
              "%s: %zu, %zu", hybrid_type_name(types[t]), few, many);
    }
}

int main(void)
{
    hybrid_runtime *rt = NULL;
    hyb_cuda_desc desc;
    hybrid_error error;
    memset(&desc, 0, sizeof desc);
    desc.separate = true;
    TEST("a device");
    CHECK(hybrid_runtime_create(NULL, &rt, NULL) == HYBRID_OK, "runtime");
    if (hyb_cuda_open(rt, &desc, &cu, &error) != HYBRID_OK) {
        SKIP("no CUDA device and no emulator: %s", error.message);
        hybrid_runtime_destroy(rt);
        return test_end();
    }
    CHECK(hyb_cuda_queue_create(cu, &queue, &error) == HYBRID_OK, "%s", error.message);
    if (test_wanted("scratch")) test_scratch();
    cu->blas_state = 2; /* as if there were no cuBLAS */
    if (test_wanted("few rows")) test_few_rows();
    if (test_wanted("long rows")) test_long_rows();
    if (test_wanted("many rows, own products")) test_many_rows("many rows, own products");
    if (test_wanted("several matrices")) test_several();
    if (test_wanted("slices of W")) test_slices();
    if (test_wanted("slices of W, backwards")) test_slices_back();
    if (test_wanted("not a number")) test_not_a_number();
    if (test_wanted("experts, one by one")) test_experts_one_by_one();
    if (test_wanted("experts, sorted")) test_experts_sorted();
    if (test_wanted("experts, two matrices")) test_experts_two_matrices();
    cu->blas_state = 0;
    if (hyb_cuda_queue_blas(queue, &error)) {
        if (test_wanted("many rows, cuBLAS")) test_many_rows("many rows, cuBLAS");
        if (test_wanted("several matrices")) test_several();
        if (test_wanted("slices of W")) test_slices();
    } else
        printf("without cuBLAS: %s\n", error.message);
    hyb_cuda_queue_destroy(queue);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return test_end();
}
