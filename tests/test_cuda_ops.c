/* Every op of the list on the GPU, drawn at random, against scalar C on the CPU (ops.h); and what no drawing would
 * find: attention over runs of all lengths and over long sequences, the largest of real vocabularies, the order of
 * experts. test_cuda_matmul.c is about products. Runs on a GPU, or on the emulator of tests/emu when that is what the
 * loader finds (HYBRID_CUDA_PATH=build/emu). Tolerances are stated where they are used.
 * [emu] [emu-reordered] [emu-check] [no-asan] */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include "ops.h"

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
static hybrid_runtime *rt;
static hyb_cuda *cu;
static hyb_cuda_queue *queue;
static hyb_cuda_at plain; /* without a batch */
static uint64_t seed = 88172645463325252ull;

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}
static float normal(void) { return (float)(uniform() + uniform() + uniform() + uniform() - 2) * 1.7f; }
static float *normals(size_t n)
{
    float *x = (float *)malloc((n + 1) * sizeof *x);
    size_t i;
    for (i = 0; i < n; i++) x[i] = normal();
    return x;
}
static void *device_new(size_t bytes)
{
    hybrid_error error;
    void *p = NULL;
    if (hyb_cuda_alloc(cu, bytes ? bytes : 1, &p, &error)) {
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
static bool device_get(void *host, const void *device, size_t bytes)
{
    hybrid_error error;
    hyb_cuda_read(queue, host, device, bytes);
    if (!hyb_cuda_sync(queue, &error)) return true;
    CHECK(0, "%s", error.message); /* it sticks: nothing runs on this queue any more */
    test_end();
    exit(1);
}
static void device_free(void *p) { hyb_cuda_free(cu, p); }

/* The largest |a - b| / (|b| + floor) over rows of n values. NaN counts as infinite. */
static double difference(const float *a, int64_t a_stride, const float *b, int64_t b_stride, int64_t rows, int64_t n,
                         double least)
{
    double worst = 0;
    int64_t r, i;
    for (r = 0; r < rows; r++)
        for (i = 0; i < n; i++) {
            double x = a[r * a_stride + i], y = b[r * b_stride + i], d = fabs(x - y) / (fabs(y) + least);
            if (!(d <= worst)) worst = d == d ? d : HUGE_VAL;
        }
    return worst;
}

static hyb_cuda_at *at_batch(const hyb_cuda_batch *b)
{
    static hyb_cuda_at at;
    at = plain;
    at.batch = *b;
    return &at;
}

/* A batch on the device, from runs. */
typedef struct test_batch {
    hyb_batch host;
    hyb_cuda_batch b;
    hyb_cuda_split split;
    int32_t ids[1024], pos[1024], out[1024], run_of_row[1024], tiles[4096], split_rows[1024], run_table[4 * 16];
    int32_t *pages;
} test_batch;

static void batch_begin(test_batch *t, const hyb_run *runs, int n_runs, int32_t pages_a_seq, int n_head, int n_head_kv,
                        int head_dim_v, int max_splits)
{
    int i, r, n = 0;
    for (i = 0; i < n_runs; i++)
        for (r = 0; r < runs[i].n_rows; r++) t->pos[n++] = runs[i].pos + r;
    t->host.ids = t->ids;
    t->host.pos = t->pos;
    t->host.n = n;
    t->host.runs = runs;
    t->host.n_runs = n_runs;
    t->host.out = t->out;
    memset(&t->b, 0, sizeof t->b);
    t->split = hyb_cuda_split_plan(n_runs, n, n_head_kv, pages_a_seq * HYB_PAGE);
    if (max_splits) t->split.max_splits = max_splits;
    hyb_cuda_batch_fill(&t->b, &t->split, &t->host, t->run_of_row, t->tiles, t->split_rows, t->run_table);
    CHECK((size_t)t->b.n_tiles <= hyb_cuda_tiles_max(n, n_runs), "%d tiles", t->b.n_tiles);
    CHECK(t->b.n_split <= t->split.max_rows, "%d rows", t->b.n_split);
    t->pages = (int32_t *)malloc((size_t)n_runs * (size_t)pages_a_seq * sizeof(int32_t));
    for (i = 0; i < n_runs * pages_a_seq; i++) t->pages[i] = 0x7FFFFFFF; /* entries that no run has must not be used */
    for (i = 0; i < n_runs; i++)
        for (r = 0; r <= (runs[i].pos + runs[i].n_rows - 1) / HYB_PAGE; r++)
            t->pages[i * pages_a_seq + r] = runs[i].pages[r];
    t->b.ids = (int32_t *)device_put(t->ids, (size_t)n * 4);
    t->b.pos = (int32_t *)device_put(t->pos, (size_t)n * 4);
    t->b.out = (int32_t *)device_put(t->out, (size_t)(t->host.n_out ? t->host.n_out : 1) * 4);
    t->b.run_of_row = (int32_t *)device_put(t->run_of_row, (size_t)n * 4);
    t->b.tiles = (int32_t *)device_put(t->tiles, (size_t)(t->b.n_tiles ? t->b.n_tiles : 1) * 16);
    t->b.split_rows = (int32_t *)device_put(t->split_rows, (size_t)(t->b.n_split ? t->b.n_split : 1) * 4);
    t->b.pages = (int32_t *)device_put(t->pages, (size_t)n_runs * (size_t)pages_a_seq * 4);
    t->b.pages_a_seq = pages_a_seq;
    t->b.parts = (float *)device_new(hyb_cuda_split_bytes(&t->split, n_head, head_dim_v));
    hyb_cuda_zero(queue, t->b.parts, hyb_cuda_done_count(t->split.max_rows, n_head) * 4);
}
static void batch_end(test_batch *t)
{
    free(t->pages);
    device_free(t->b.ids);
    device_free(t->b.pos);
    device_free(t->b.out);
    device_free(t->b.run_of_row);
    device_free(t->b.tiles);
    device_free(t->b.split_rows);
    device_free(t->b.pages);
    device_free(t->b.parts);
}

/* ---- the cache, attention ---------------------------------------------------------------------------------------- */

typedef struct attention_case {
    hybrid_type type;
    int dim_k, dim_v, n_head, n_head_kv, window;
    float softcap;
    bool sinks;
    int max_splits; /* 0: as a context would */
} attention_case;

enum { RUNS = 9, PAGES_A_SEQ = 12, N_PAGES = RUNS * PAGES_A_SEQ };

/* Lengths 1, 31, 32, 33, 100, 300 by decoding, and long runs: 100 rows from 0, 70 from 33, 9 from 291. Runs 4 and 5
 * share three pages. */
static const struct {
    int pos, rows;
} shapes[RUNS] = {
    { 0, 1 }, { 30, 1 }, { 31, 1 }, { 32, 1 }, { 99, 1 }, { 296, 4 }, { 0, 100 }, { 33, 70 }, { 291, 9 }
};

typedef struct attention_world {
    hyb_kv_view host, device;
    size_t bytes_k, bytes_v;
    int32_t pages[RUNS][PAGES_A_SEQ];
    float *qkv, *out, *want;
    int64_t stride, out_stride;
    float sinks[64];
    hyb_run runs[RUNS];
    int n_rows;
} attention_world;

static void world_create(attention_world *w, const attention_case *c)
{
    hyb_kv_view *kv = &w->host;
    int i, p, h, r, n = 0;
    memset(w, 0, sizeof *w);
    kv->type = c->type;
    kv->n_head_kv = c->n_head_kv;
    kv->head_dim_k = c->dim_k;
    kv->head_dim_v = c->dim_v;
    kv->row_bytes_k = hybrid_type_row_bytes(c->type, (size_t)c->dim_k);
    kv->row_bytes_v = hybrid_type_row_bytes(c->type, (size_t)c->dim_v);
    kv->page_bytes_k = kv->row_bytes_k * (size_t)c->n_head_kv * HYB_PAGE;
    kv->page_bytes_v = kv->row_bytes_v * (size_t)c->n_head_kv * HYB_PAGE;
    w->bytes_k = kv->page_bytes_k * N_PAGES;
    w->bytes_v = kv->page_bytes_v * N_PAGES;
    kv->k = (char *)malloc(w->bytes_k);
    kv->v = (char *)malloc(w->bytes_v);
    memset(kv->k, 0xFF, w->bytes_k);
    memset(kv->v, 0xFF, w->bytes_v); /* NaN wherever nothing was stored */
    for (i = 0; i < RUNS; i++) {
        for (p = 0; p < PAGES_A_SEQ; p++)
            w->pages[i][p] = i == 5 && p < 3 ? w->pages[4][p] : (p * RUNS + i) * 5 % N_PAGES;
        w->runs[i].first_row = n;
        w->runs[i].n_rows = shapes[i].rows;
        w->runs[i].pos = shapes[i].pos;
        w->runs[i].pages = w->pages[i];
        n += shapes[i].rows;
        for (p = 0; p < shapes[i].pos; p++)
            for (h = 0; h < c->n_head_kv; h++) {
                float *x = normals((size_t)(c->dim_k + c->dim_v));
                if (i == 5 && p < 96) {
                    free(x);
                    continue;
                }
                hyb_kv_row_generic(c->type, x,
                                   (char *)(uintptr_t)hyb_k_row(kv, w->pages[i][p / HYB_PAGE], h, p % HYB_PAGE),
                                   c->dim_k);
                hyb_kv_row_generic(c->type, x + c->dim_k,
                                   (char *)(uintptr_t)hyb_v_row(kv, w->pages[i][p / HYB_PAGE], h, p % HYB_PAGE),
                                   c->dim_v);
                free(x);
            }
    }
    w->n_rows = n;
    w->stride = c->n_head * c->dim_k + c->n_head_kv * (c->dim_k + c->dim_v) + 8;
    w->out_stride = c->n_head * c->dim_v + 4;
    w->qkv = normals((size_t)(n * w->stride));
    w->out = (float *)malloc((size_t)(n * w->out_stride) * 4);
    w->want = (float *)malloc((size_t)(n * w->out_stride) * 4);
    for (i = 0; i < n * w->out_stride; i++) w->want[i] = w->out[i] = -7;
    for (i = 0; i < 64; i++) w->sinks[i] = normal();
    w->device = w->host;
    w->device.k = (char *)device_put(kv->k, w->bytes_k);
    w->device.v = (char *)device_put(kv->v, w->bytes_v);
    for (r = 0; r < RUNS; r++) /* what kv_store should do */
        for (i = 0; i < w->runs[r].n_rows; i++)
            for (h = 0; h < c->n_head_kv; h++) {
                const float *k = w->qkv + (w->runs[r].first_row + i) * w->stride + c->n_head * c->dim_k,
                            *v = k + c->n_head_kv * c->dim_k;
                p = w->runs[r].pos + i;
                hyb_kv_row_generic(c->type, k + h * c->dim_k,
                                   (char *)(uintptr_t)hyb_k_row(kv, w->pages[r][p / HYB_PAGE], h, p % HYB_PAGE),
                                   c->dim_k);
                hyb_kv_row_generic(c->type, v + h * c->dim_v,
                                   (char *)(uintptr_t)hyb_v_row(kv, w->pages[r][p / HYB_PAGE], h, p % HYB_PAGE),
                                   c->dim_v);
            }
}
static void world_destroy(attention_world *w)
{
    device_free(w->device.k);
    device_free(w->device.v);
    free(w->host.k);
    free(w->host.v);
    free(w->qkv);
    free(w->out);
    free(w->want);
}

/* Stores and attends runs first .. first + n (their rows renumbered from 0), out to the world's rows. */
static void world_run(attention_world *w, const attention_case *c, int first, int n, bool store, float *out)
{
    static test_batch t;
    hyb_run runs[RUNS];
    const int row0 = w->runs[first].first_row;
    hyb_op_kv_store st;
    hyb_op_attention op;
    void *dq, *dout, *ds;
    int i;
    for (i = 0; i < n; i++) {
        runs[i] = w->runs[first + i];
        runs[i].first_row -= row0;
    }
    t.host.n_out = 0;
    batch_begin(&t, runs, n, PAGES_A_SEQ, c->n_head, c->n_head_kv, c->dim_v, c->max_splits);
    dq = device_put(w->qkv + row0 * w->stride, (size_t)(t.b.n * w->stride) * 4);
    dout = device_put(out + row0 * w->out_stride, (size_t)(t.b.n * w->out_stride) * 4);
    ds = device_put(w->sinks, sizeof w->sinks);
    st.kv = &w->device;
    st.k = (const float *)dq + c->n_head * c->dim_k;
    st.k_stride = w->stride;
    st.v = st.k + c->n_head_kv * c->dim_k;
    st.v_stride = w->stride;
    if (store) hyb_cuda_op_kv_store(at_batch(&t.b), &st);
    memset(&op, 0, sizeof op);
    op.kv = &w->device;
    op.q = (const float *)dq;
    op.q_stride = w->stride;
    op.out = (float *)dout;
    op.out_stride = w->out_stride;
    op.n_head = c->n_head;
    op.scale = 1.0f / sqrtf((float)c->dim_k);
    op.softcap = c->softcap;
    op.window = c->window;
    op.sinks = c->sinks ? (const float *)ds : NULL;
    hyb_cuda_op_attention(at_batch(&t.b), &op);
    hyb_cuda_write(queue, dout, out + row0 * w->out_stride, (size_t)(t.b.n * w->out_stride) * 4);
    hyb_cuda_op_attention(at_batch(&t.b), &op); /* and again: counters of blocks are as they were */
    device_get(out + row0 * w->out_stride, dout, (size_t)(t.b.n * w->out_stride) * 4);
    device_free(dq);
    device_free(dout);
    device_free(ds);
    batch_end(&t);
}

static void test_attention_case(const attention_case *c)
{
    attention_world w;
    char name[96], *cache;
    int r, i, h;
    double worst, square = 0, limit;
    const bool half = c->type != HYBRID_TYPE_F32 && c->dim_k == c->dim_v &&
                      hyb_cuda_attention_module(hyb_cuda_kv_type(c->type), c->dim_k) >= 0;
    snprintf(name, sizeof name, "attention %s %d/%d, %d of %d, window %d, cap %g", hybrid_type_name(c->type), c->dim_k,
             c->dim_v, c->n_head, c->n_head_kv, c->window, (double)c->softcap);
    TEST(name);
    if (!test_wanted(name)) return;
    world_create(&w, c);
    for (r = 0; r < RUNS; r++)
        for (i = 0; i < w.runs[r].n_rows; i++)
            for (h = 0; h < c->n_head; h++) {
                hyb_op_attention op;
                int64_t row = w.runs[r].first_row + i;
                memset(&op, 0, sizeof op);
                op.kv = &w.host;
                op.n_head = c->n_head;
                op.scale = 1.0f / sqrtf((float)c->dim_k);
                op.softcap = c->softcap;
                op.window = c->window;
                op.sinks = c->sinks ? w.sinks : NULL;
                hyb_attention_row_generic(&op, w.pages[r], w.runs[r].pos + i, h, w.qkv + row * w.stride + h * c->dim_k,
                                          w.want + row * w.out_stride + h * c->dim_v);
            }
    world_run(&w, c, 0, RUNS, true, w.out);
    cache = (char *)malloc(LARGER(w.bytes_k, w.bytes_v));
    if (device_get(cache, w.device.k, w.bytes_k)) CHECK(memcmp(cache, w.host.k, w.bytes_k) == 0, "kv_store: k");
    if (device_get(cache, w.device.v, w.bytes_v)) CHECK(memcmp(cache, w.host.v, w.bytes_v) == 0, "kv_store: v");
    /* By tensor cores, q and the weights of the softmax are rounded to halves (2^-11), Q8_0 values too; values are
     * of size 1. */
    limit = half ? 4e-3 : 1e-5;
    for (r = 0; r < RUNS; r++) {
        const int64_t at = w.runs[r].first_row * w.out_stride;
        worst = difference(w.out + at, w.out_stride, w.want + at, w.out_stride, w.runs[r].n_rows, w.out_stride, 1);
        CHECK(worst < limit, "run %d (%d rows from %d): %g", r, w.runs[r].n_rows, w.runs[r].pos, worst);
    }
    for (i = 0; i < w.n_rows * w.out_stride; i++) square += (w.out[i] - w.want[i]) * (w.out[i] - w.want[i]);
    square = sqrt(square / (double)(w.n_rows * w.out_stride));
    CHECK(square < limit / 8, "mean error %g", square);
    for (r = 0; r < 2; r++) { /* alone, the same bits */
        const int run = r ? 8 : 5;
        const int64_t at = w.runs[run].first_row * w.out_stride, n = w.runs[run].n_rows * w.out_stride;
        memcpy(w.want + at, w.out + at, (size_t)n * 4);
        attention_case one = *c;
        if (!one.max_splits)
            one.max_splits = hyb_cuda_split_plan(RUNS, w.n_rows, c->n_head_kv, PAGES_A_SEQ * HYB_PAGE).max_splits;
        if (r && w.runs[run].n_rows <= 8) continue;
        world_run(&w, &one, run, 1, false, w.out);
        CHECK(memcmp(w.want + at, w.out + at, (size_t)n * 4) == 0, "run %d alone", run);
    }
    free(cache);
    world_destroy(&w);
}

static void test_attention(void)
{
    static const attention_case cases[] = {
        { HYBRID_TYPE_F16, 64, 64, 4, 4, 0, 0, false, 0 },     { HYBRID_TYPE_F16, 64, 64, 14, 2, 0, 0, true, 2 },
        { HYBRID_TYPE_F16, 64, 64, 16, 1, 50, 0, false, 0 },   { HYBRID_TYPE_F16, 80, 80, 4, 2, 0, 30, false, 1 },
        { HYBRID_TYPE_F16, 96, 96, 2, 2, 33, 0, true, 0 },     { HYBRID_TYPE_F16, 112, 112, 2, 1, 0, 0, false, 0 },
        { HYBRID_TYPE_F16, 128, 128, 8, 1, 0, 0, false, 0 },   { HYBRID_TYPE_F16, 128, 128, 2, 2, 100, 50, true, 0 },
        { HYBRID_TYPE_F16, 192, 192, 1, 1, 1, 0, false, 0 },   { HYBRID_TYPE_F16, 256, 256, 4, 1, 64, 50, false, 0 },
        { HYBRID_TYPE_F16, 16, 16, 4, 4, 0, 0, false, 0 },     { HYBRID_TYPE_Q8_0, 64, 64, 4, 2, 40, 0, false, 0 },
        { HYBRID_TYPE_Q8_0, 96, 96, 3, 1, 0, 0, false, 0 },    { HYBRID_TYPE_Q8_0, 128, 128, 7, 1, 0, 0, true, 0 },
        { HYBRID_TYPE_Q8_0, 256, 256, 2, 1, 0, 0, false, 0 },  { HYBRID_TYPE_Q8_0, 32, 32, 2, 1, 0, 0, false, 0 },
        { HYBRID_TYPE_F32, 8, 8, 4, 2, 0, 0, false, 0 },       { HYBRID_TYPE_F32, 16, 16, 2, 2, 50, 20, true, 1 },
        { HYBRID_TYPE_F32, 64, 64, 7, 1, 0, 0, true, 2 },      { HYBRID_TYPE_F32, 128, 128, 8, 2, 0, 0, false, 0 },
        { HYBRID_TYPE_F32, 256, 256, 17, 1, 33, 0, false, 0 }, { HYBRID_TYPE_F32, 72, 40, 2, 1, 0, 0, false, 0 },
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) test_attention_case(&cases[i]);
}

/* One row at a time at the end of a long sequence: up to 64 parts of four pages, then fewer of eight. */
static void test_long_attention_case(hybrid_type type, int dim, int n_head)
{
    enum { LENGTH = 9001, PAGES = (LENGTH + HYB_PAGE - 1) / HYB_PAGE };
    static const int positions[] = { 511, 512, 4095, 4097, 8159, 8191, 8192, 9000 };
    static int32_t pages[PAGES];
    static test_batch t;
    hyb_kv_view host, device;
    hyb_op_attention op;
    hyb_run run;
    float *q = normals((size_t)(n_head * dim)), *x = normals((size_t)dim),
          *want = (float *)malloc((size_t)(n_head * dim) * 4), *out = (float *)malloc((size_t)(n_head * dim) * 4);
    const double limit = type == HYBRID_TYPE_F32 ? 1e-5 : 4e-3;
    size_t bytes, i;
    int p, h;
    memset(&host, 0, sizeof host);
    host.type = type;
    host.n_head_kv = 1;
    host.head_dim_k = host.head_dim_v = dim;
    host.row_bytes_k = host.row_bytes_v = hybrid_type_row_bytes(type, (size_t)dim);
    host.page_bytes_k = host.page_bytes_v = host.row_bytes_k * HYB_PAGE;
    bytes = host.page_bytes_k * PAGES;
    host.k = (char *)calloc(1, bytes);
    host.v = (char *)calloc(1, bytes);
    for (p = 0; p < PAGES; p++) pages[p] = p * 5 % PAGES;
    for (p = 0; p < LENGTH; p++) {
        for (h = 0; h < dim; h++) x[h] = normal();
        x[0] = p < 4500 ? 0.0f : 32.0f; /* with q[0]: e^102 is no float, if the maximum were the early parts' */
        hyb_kv_row_generic(type, x, (char *)(uintptr_t)hyb_k_row(&host, pages[p / HYB_PAGE], 0, p % HYB_PAGE), dim);
        for (h = 0; h < dim; h++) x[h] = normal() + 0.001f * (float)p; /* later parts are unlike earlier ones */
        hyb_kv_row_generic(type, x, (char *)(uintptr_t)hyb_v_row(&host, pages[p / HYB_PAGE], 0, p % HYB_PAGE), dim);
    }
    device = host;
    device.k = (char *)device_put(host.k, bytes);
    device.v = (char *)device_put(host.v, bytes);
    memset(&op, 0, sizeof op);
    for (h = 0; h < n_head; h++) q[h * dim] = 16;
    op.n_head = n_head;
    op.scale = 0.2f;
    op.q_stride = op.out_stride = n_head * dim;
    for (i = 0; i < sizeof positions / sizeof *positions; i++) {
        void *dq = device_put(q, (size_t)(n_head * dim) * 4), *dout = device_new((size_t)(n_head * dim) * 4);
        double d;
        run.first_row = 0;
        run.n_rows = 1;
        run.pos = positions[i];
        run.pages = pages;
        t.host.n_out = 0;
        batch_begin(&t, &run, 1, PAGES, n_head, 1, dim, 0);
        CHECK(t.split.max_splits == 64, "%d parts", t.split.max_splits);
        op.kv = &host;
        for (h = 0; h < n_head; h++)
            hyb_attention_row_generic(&op, pages, positions[i], h, q + h * dim, want + h * dim);
        op.kv = &device;
        op.q = (const float *)dq;
        op.out = (float *)dout;
        hyb_cuda_op_attention(at_batch(&t.b), &op);
        device_get(out, dout, (size_t)(n_head * dim) * 4);
        d = difference(out, dim, want, dim, n_head, dim, 1);
        CHECK(d < limit, "%s, position %d: %g", hybrid_type_name(type), positions[i], d);
        device_free(dq);
        device_free(dout);
        batch_end(&t);
    }
    device_free(device.k);
    device_free(device.v);
    free(host.k);
    free(host.v);
    free(q);
    free(x);
    free(want);
    free(out);
}

static void test_long_attention(void)
{
    TEST("long attention");
    test_long_attention_case(HYBRID_TYPE_F16, 64, 2);
    test_long_attention_case(HYBRID_TYPE_F32, 16, 3);
}

/* ---- the largest logits ------------------------------------------------------------------------------------------ */

static const float *sort_row;
static int by_sorted_logit(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    const float x = sort_row[i], y = sort_row[j];
    return x > y ? -1 : x < y ? 1 : i - j;
}

static void test_top_k_case(int n_vocab, int k, int rows, int levels)
{
    const int stride = n_vocab + 3;
    float *x = normals((size_t)(rows * stride)), *values = (float *)malloc((size_t)(rows * k) * 4),
          *stats = (float *)malloc((size_t)rows * 8);
    int *order = (int *)malloc((size_t)n_vocab * sizeof(int)), *ids = (int *)malloc((size_t)(rows * k) * 4), r, i,
        wrong = 0;
    hyb_op_top_k op;
    hyb_cuda_at at;
    void *dx, *di, *dv, *ds, *scratch;
    for (i = 0; i < rows * stride; i++) {
        x[i] *= 5;
        if (levels) x[i] = (float)((int)(uniform() * levels) - levels / 2); /* many equal ones, and some -0 */
        if (levels && x[i] == 0 && uniform() < 0.5) x[i] = -0.0f;
        if (uniform() < 0.1) x[i] = -INFINITY;
    }
    /* one at least is finite */
    for (r = 0; r < rows; r++)
        if (uniform() < 2) x[r * stride + (int)(uniform() * n_vocab)] = 3;
    dx = device_put(x, (size_t)(rows * stride) * 4);
    di = device_new((size_t)(rows * k) * 4);
    dv = device_new((size_t)(rows * k) * 4);
    ds = device_new((size_t)rows * 8);
    scratch = device_new(hyb_cuda_top_k_bytes(rows, n_vocab, k));
    op.logits = (const float *)dx;
    op.stride = stride;
    op.n_rows = rows;
    op.n = n_vocab;
    op.k = k;
    op.ids = (int32_t *)di;
    op.values = (float *)dv;
    op.stats = (float *)ds;
    at = plain;
    at.scratch = (char *)scratch;
    hyb_cuda_op_top_k(&at, &op);
    if (device_get(ids, di, (size_t)(rows * k) * 4) && device_get(values, dv, (size_t)(rows * k) * 4) &&
        device_get(stats, ds, (size_t)rows * 8))
        for (r = 0; r < rows; r++) {
            double sum = 0;
            sort_row = x + r * stride;
            for (i = 0; i < n_vocab; i++) order[i] = i;
            qsort(order, (size_t)n_vocab, sizeof(int), by_sorted_logit);
            for (i = 0; i < k; i++) {
                if (i < n_vocab)
                    wrong += ids[r * k + i] != order[i] || values[r * k + i] != sort_row[order[i]];
                else
                    wrong += ids[r * k + i] != -1 || values[r * k + i] != -INFINITY;
            }
            for (i = 0; i < n_vocab; i++) sum += exp((double)sort_row[i] - sort_row[order[0]]);
            CHECK(stats[2 * r] == sort_row[order[0]], "maximum %g", (double)stats[2 * r]);
            CHECK(fabs(stats[2 * r + 1] / sum - 1) < 2e-6, "sum %g, not %g", (double)stats[2 * r + 1], sum);
        }
    CHECK(wrong == 0, "vocabulary %d, k %d: %d wrong", n_vocab, k, wrong);
    device_free(dx);
    device_free(di);
    device_free(dv);
    device_free(ds);
    device_free(scratch);
    free(x);
    free(values);
    free(stats);
    free(order);
    free(ids);
}

static void test_top_k(void)
{
    TEST("top_k of vocabularies");
    test_top_k_case(1, 1, 1, 0);
    test_top_k_case(1, 4, 2, 0);
    test_top_k_case(100, 40, 3, 0);
    test_top_k_case(100, 256, 2, 0);
    test_top_k_case(4096, 256, 2, 50);
    test_top_k_case(4097, 1, 2, 3);
    test_top_k_case(5000, 64, 2, 1); /* zeros, of both signs */
    test_top_k_case(32001, 64, 2, 0);
    test_top_k_case(50257, 256, 2, 9);
    test_top_k_case(151936, 100, 1, 0);
}

/* The order of pairs by expert, and the map of tiles. spread: of how many experts the ids are. */
static void test_sort_case(int n_pairs, int n_expert, int spread, int tile)
{
    const int64_t places = hyb_cuda_experts_places(n_pairs, n_expert),
                  tiles = hyb_cuda_experts_tiles(n_pairs, n_expert, tile);
    int *ids = (int *)malloc((size_t)n_pairs * 4), *order = (int *)malloc((size_t)places * 4),
        *map = (int *)malloc((size_t)tiles * 16), total[2], i, e, at = 0, n_tiles = 0, wrong = 0;
    hyb_op_experts op;
    hyb_cuda_experts_job job;
    for (i = 0; i < n_pairs; i++) ids[i] = n_expert - 1 - (int)(uniform() * uniform() * spread);
    memset(&op, 0, sizeof op);
    memset(&job, 0, sizeof job);
    op.ids = (const int32_t *)device_put(ids, (size_t)n_pairs * 4);
    job.q = queue;
    job.op = &op;
    job.n_pairs = n_pairs;
    job.n_expert = n_expert;
    job.order = (char *)device_new((size_t)places * 4);
    job.map = (char *)device_new((size_t)tiles * 16);
    job.total = (char *)device_new(8);
    hyb_cuda_experts_sort(&job, tile);
    if (device_get(total, job.total, 8)) {
        CHECK(total[0] >= 0 && total[0] <= tiles && total[1] >= n_pairs && total[1] <= places,
              "%d tiles of %d, %d places of %d", total[0], (int)tiles, total[1], (int)places);
        device_get(order, job.order, (size_t)total[1] * 4);
        device_get(map, job.map, (size_t)total[0] * 16);
        for (e = 0; e < n_expert; e++) {
            const int first = at;
            for (i = 0; i < n_pairs; i++)
                if (ids[i] == e) wrong += order[at++] != i;
            for (i = first; i < at; i += tile, n_tiles++)
                wrong += map[4 * n_tiles] != e || map[4 * n_tiles + 1] != i ||
                         map[4 * n_tiles + 2] != (at - i < tile ? at - i : tile);
            for (; at % 8; at++) wrong += order[at] != -1;
        }
        CHECK(at == total[1] && n_tiles == total[0], "%d places, not %d; %d tiles, not %d", total[1], at, total[0],
              n_tiles);
        CHECK(wrong == 0, "%d pairs, %d experts, tiles of %d: %d wrong", n_pairs, n_expert, tile, wrong);
    }
    device_free((void *)(uintptr_t)op.ids);
    device_free(job.order);
    device_free(job.map);
    device_free(job.total);
    free(ids);
    free(order);
    free(map);
}

static void test_sort(void)
{
    TEST("sort by expert");
    test_sort_case(1, 1, 1, 8);
    test_sort_case(1, 8, 8, 64);
    test_sort_case(63, 8, 8, 8);
    test_sort_case(300, 8, 1, 64);
    test_sort_case(777, 3, 3, 128);
    test_sort_case(1000, 60, 60, 8);
    test_sort_case(260, 300, 300, 32);
}

/* Experts of block types, as floats a few rows at a time: not even one matrix fits into the scratch. */
static void run_in_little(hyb_backend *be, const any_op *op)
{
    if (!strcmp(be->ops->name, "cuda"))
        hyb_cuda_of(be)->at.scratch_bytes = 5 * sizeof(float) * (size_t)op->experts_back.out[0].w->ne[0];
    hyb_do_experts_back(be, &op->experts_back);
}

/* The GPU of a runtime, as the library opens it, but that every buffer ends where its memory ends, and that nothing
 * is cached. */
static void test_drawn(void)
{
    static side reference, gpu;
    /* every access is looked at: slow; in another order: of the draws that were seen in the first */
    const int n = getenv("EMU_CHECK") || getenv("EMU_ORDER") ? 12 : 30;
    hybrid_runtime_desc desc;
    hyb_cuda_device *device;
    hybrid_error error;
    op_case little;
    char name[64];
    int o;
    memset(&desc, 0, sizeof desc);
    desc.device = "cuda";
    if (hybrid_runtime_create(&desc, &gpu.rt, &error) || hyb_runtime_gpu(gpu.rt, &gpu.device, &error)) {
        CHECK(0, "%s", error.message);
        return;
    }
    device = hyb_cuda_device_of(gpu.device);
    hyb_cuda_release(device->cu);
    hyb_cuda_retain(device->cu = cu);
    gpu.name = "cuda";
    side_host(&reference, "generic", 1);
    ops_compare(&reference, &gpu, 1, n, true);
    for (o = 0; o < (int)(sizeof op_cases / sizeof *op_cases); o++) {
        if (strncmp(op_cases[o].name, "matmul_back", 11)) continue;
        snprintf(name, sizeof name, "%s, own products", op_cases[o].name);
        TEST(name);
        cu->blas_state = 2; /* as if there were no cuBLAS */
        if (test_wanted(name)) op_compare(&op_cases[o], &reference, &gpu, 1, n, true);
        cu->blas_state = 0;
    }
    TEST("experts_back, little scratch");
    little = op_cases[HYB_OP_experts_back];
    little.run = run_in_little;
    for (o = 0; o < n && test_wanted("experts_back, little scratch"); o++)
        op_compare_one(&little, &reference, &gpu, 1, (uint64_t)o * 1000 + HYB_OP_experts_back, true);
    TEST("matmul in formats, own products");
    cu->blas_state = 2;
    for (o = 7; o < 24 && test_wanted("matmul in formats, own products"); o += o % 12 == 7 ? 4 : 8)
        op_compare_one(&op_cases[HYB_OP_matmul], &reference, &gpu, 1, (uint64_t)o * 1000 + HYB_OP_matmul, true);
    cu->blas_state = 0;
    hybrid_runtime_destroy(gpu.rt);
    hybrid_runtime_destroy(reference.rt);
}

int main(void)
{
    hyb_cuda_desc desc;
    hybrid_error error;
    memset(&desc, 0, sizeof desc);
    desc.separate = true; /* every buffer ends where its memory ends */
    desc.cache.path = ""; /* what is tested is what is compiled now */
    if (hybrid_runtime_create(NULL, &rt, &error)) {
        printf("%s\n", error.message);
        return 1;
    }
    if (hyb_cuda_open(rt, &desc, &cu, &error) || hyb_cuda_can_compile(cu, &error)) {
        TEST("cuda ops");
        SKIP_PROCESSOR("no GPU, no emulator on the loader's path: %s", error.message);
        if (cu) hyb_cuda_release(cu);
        hybrid_runtime_destroy(rt);
        return test_end();
    }
    if (hyb_cuda_queue_create(cu, &queue, &error)) {
        printf("%s\n", error.message);
        return 1;
    }
    plain.q = queue;
    test_drawn();
    test_attention();
    if (test_wanted("long attention")) test_long_attention();
    if (test_wanted("top_k of vocabularies")) test_top_k();
    if (test_wanted("sort by expert")) test_sort();
    hyb_cuda_queue_destroy(queue);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return test_end();
}
