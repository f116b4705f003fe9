/* The operations of the CPU back end: every op of the list, drawn at random, in scalar C against statements in double
 * precision, and on every instruction set with one thread and three against scalar C, bit by bit (ops.h); vectors made
 * by PyTorch (oracle/make_ops.py); and what no drawing would find: all floats through exp and tanh, one row at a
 * time, NaN. [simd] [aarch64] */
#include "private.h"
#include "ops.h"

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;
static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}
static int random_int(int low, int high) { return low + (int)(random_bits() % (uint32_t)(high - low + 1)); }
static float random_float(void) { return ((float)(random_bits() >> 8) / 8388608.0f - 1.0f) * 2.0f; }
static float *random_floats(size_t n)
{
    float *p = (float *)malloc(n * sizeof *p + 64);
    size_t i;
    for (i = 0; i < n; i++) p[i] = random_float();
    return p;
}
static float *copy_floats(const float *x, size_t n)
{
    float *p = (float *)malloc(n * sizeof *p + 64);
    memcpy(p, x, n * sizeof *p);
    return p;
}

/* Equal bits; any NaN equals any NaN, for which operand's payload survives is the compiler's choice. Returns the
 * first difference, or -1. */
static int64_t first_difference(const float *a, const float *b, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (hyb_f32_bits(a[i]) != hyb_f32_bits(b[i]) && !(a[i] != a[i] && b[i] != b[i])) return (int64_t)i;
    return -1;
}

/* Largest |a - b| relative to the largest |b|. */
static double distance(const float *a, const double *b, size_t n)
{
    double most = 1e-30, worst = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= 1e30)) return 1e30;
        worst = d > worst ? d : worst;
        most = fabs(b[i]) > most ? fabs(b[i]) : most;
    }
    return worst / most;
}

/* A back end of every instruction set that this machine has; [0] is the reference. */
enum { MAX_TARGETS = 5 };
typedef struct target {
    hybrid_runtime *rt;
    hyb_backend *be;
    const char *name;
} target;
static target targets[MAX_TARGETS];
static int n_targets;

static hyb_backend *create_backend(const char *isa, int n_threads, const hyb_tensor *w, int n_w)
{
    hybrid_runtime_desc desc;
    hyb_limits limits;
    hybrid_runtime *rt = NULL;
    hyb_backend *be = NULL;
    int i;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = isa;
    desc.n_threads = n_threads;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "runtime %s", isa);
    limits.n_rows = 256;
    limits.head_dim_k = limits.head_dim_v = 256;
    for (i = 0; i < n_w; i++) CHECK(hyb_cpu_limits_matrix(rt, &limits, &w[i]), "no kernel for type %d", (int)w[i].type);
    CHECK(hyb_cpu_backend_create(rt, &limits, &be, NULL) == HYBRID_OK, "back end %s", isa);
    hybrid_runtime_destroy(rt); /* the back end keeps it */
    return be;
}

static void create_targets(void)
{
    static const char *const names[] = { "generic", "avx2", "avxvnni", "avx512", "neon" };
    int i;
    for (i = 0; i < (int)HYB_COUNT(names); i++) {
        target *t = &targets[n_targets];
        t->be = create_backend(names[i], 1, NULL, 0);
        t->rt = t->be->rt;
        t->name = names[i];
        if (!strcmp(hybrid_runtime_isa(t->rt), names[i]))
            n_targets++;
        else
            t->be->ops->destroy(t->be);
    }
}

/* ---- exp, tanh, silu, gelu --------------------------------------------------------------------------------------- */

static double exact_exp(double x) { return exp(x); }
static double exact_tanh(double x) { return tanh(x); }
static double exact_silu(double x) { return x / (1 + exp(-x)); }
static double exact_gelu(double x) { return 0.5 * x * erfc(-x * 0.70710678118654752440); }
static double exact_gelu_tanh(double x)
{
    return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
static float ours_exp(float x) { return hyb_exp_scalar(x); }
static float ours_tanh(float x) { return hyb_tanh_scalar(x); }
static float ours_silu(float x) { return hyb_silu_scalar(x); }
static float ours_gelu(float x) { return hyb_gelu_scalar(x); }
static float ours_gelu_tanh(float x) { return hyb_gelu_tanh_scalar(x); }

/* Every step-th float of both signs: error in units of the result's last place; results below `tiny` may be any
 * below it. */
static void test_function(const char *name, float (*ours)(float), double (*exact)(double), double limit, double tiny,
                          uint32_t step)
{
    double worst = 0;
    float at = 0;
    uint64_t u;
    for (u = 0; u < 0x100000000u; u += step) {
        float x = hyb_bits_f32((uint32_t)u), y;
        double e, ulp, error;
        if (!(fabsf(x) < HUGE_VALF)) continue;
        e = exact((double)x);
        y = ours(x);
        if (fabs(e) >= 3.4028235e38) {
            if (!(y > 3e38f)) {
                worst = 1e9;
                at = x;
            }
            continue;
        }
        if (fabs(e) < tiny && fabs((double)y) < tiny) continue;
        ulp = ldexp(1.0, HYB_MAX(ilogb(e), -126) - 23);
        error = fabs((double)y - e) / ulp;
        if (!(error <= worst)) {
            worst = error;
            at = x;
        }
    }
    if (getenv("HYBRID_VERBOSE")) printf("%s: worst error %.3f ulp at %.9g\n", name, worst, (double)at);
    CHECK(worst <= limit, "%s: %.3f ulp at %.9g", name, worst, (double)at);
}

static void test_math(uint32_t step)
{
    float nan = hyb_bits_f32(0x7FC00001u), inf = HUGE_VALF;
    int i;
    TEST("math");
    test_function("exp", ours_exp, exact_exp, 1.0, 0, step);
    test_function("tanh", ours_tanh, exact_tanh, 1.4, 0, step);
    test_function("silu", ours_silu, exact_silu, 2.3, 3e-37, step);
    test_function("gelu", ours_gelu, exact_gelu, 4.0, 3e-37, step);
    test_function("gelu_tanh", ours_gelu_tanh, exact_gelu_tanh, 2.0, 3e-37, step);
    CHECK(ours_exp(-inf) == 0, "ends of exp");
    CHECK(ours_exp(inf) == inf, "ends of exp");
    CHECK(ours_exp(0) == 1, "ends of exp");
    CHECK(ours_exp(-104.5f) == 0, "ends of exp");
    CHECK(ours_exp(-100.0f) > 0 && ours_exp(-100.0f) < 1e-43f, "exp reaches the subnormal numbers");
    CHECK(ours_tanh(inf) == 1, "ends of tanh");
    CHECK(ours_tanh(-inf) == -1, "ends of tanh");
    CHECK(hyb_f32_bits(ours_tanh(-0.0f)) == 0x80000000u, "ends of tanh");
    CHECK(ours_silu(inf) == inf, "ends of silu and gelu");
    CHECK(ours_silu(-inf) == 0, "ends of silu and gelu");
    CHECK(ours_gelu(inf) == inf, "ends of silu and gelu");
    CHECK(ours_gelu(-inf) == 0, "ends of silu and gelu");
    CHECK(ours_gelu_tanh(inf) == inf, "ends of silu and gelu");
    CHECK(ours_gelu_tanh(-inf) == 0, "ends of silu and gelu");
    CHECK(ours_tanh(1e-42f) == 1e-42f && ours_silu(1e-42f) > 0, "subnormal arguments");
    CHECK(ours_exp(nan) != ours_exp(nan), "NaN stays NaN");
    CHECK(ours_tanh(nan) != ours_tanh(nan), "NaN stays NaN");
    CHECK(ours_silu(nan) != ours_silu(nan), "NaN stays NaN");
    CHECK(ours_gelu(nan) != ours_gelu(nan), "NaN stays NaN");
    CHECK(ours_gelu_tanh(nan) != ours_gelu_tanh(nan), "NaN stays NaN");

    TEST("sine and cosine");
    {
        double worst = 0, s, c;
        for (i = 0; i < 200000; i++) {
            double x = ldexp((double)random_bits() - 2147483648.0, -31) * pow(10, random_int(-8, 7)), d;
            hyb_sincos(x, &s, &c);
            d = fmax(fabs(s - sin(x)), fabs(c - cos(x)));
            worst = d > worst ? d : worst;
        }
        CHECK(worst < 5e-16, "error %g", worst);
        hyb_sincos(0, &s, &c);
        CHECK(s == 0 && c == 1, "of 0");
        hyb_sincos((double)inf, &s, &c);
        CHECK(s != s && c != c, "of infinity");
    }
}

static void softcap_of(hyb_backend *be, float *y, float cap, int64_t n)
{
    hyb_op_softcap op;
    op.x = op.out = y;
    op.cap = cap;
    op.n = n;
    hyb_do_softcap(be, &op);
}

/* The vector forms of the same functions, over the same floats, through the operations that use them. */
static void test_math_targets(uint32_t step)
{
    enum { N = 1003 };
    static float x[N], y[2][N];
    uint64_t u = 0;
    int t, i, act;
    TEST("math on every instruction set");
    while (u < 0x100000000u) {
        for (i = 0; i < N; i++, u += step) x[i] = hyb_bits_f32((uint32_t)u);
        for (t = 1; t < n_targets; t++) {
            for (act = 0; act < 3; act++) {
                hyb_op_glu op;
                int64_t d;
                memset(&op, 0, sizeof op);
                op.act = (hyb_act_kind)act;
                op.gate = x;
                op.n_rows = 1;
                op.n = N;
                op.out = y[0];
                hyb_do_glu(targets[0].be, &op);
                op.out = y[1];
                hyb_do_glu(targets[t].be, &op);
                d = first_difference(y[0], y[1], N);
                if (d >= 0) {
                    CHECK(0, "%s activation %d of %.9g: %.9g, not %.9g", targets[t].name, act, (double)x[d],
                          (double)y[1][d], (double)y[0][d]);
                    return;
                }
            }
            memcpy(y[0], x, sizeof x);
            softcap_of(targets[0].be, y[0], 1.0f, N);
            memcpy(y[1], x, sizeof x);
            softcap_of(targets[t].be, y[1], 1.0f, N);
            if (first_difference(y[0], y[1], N) >= 0) {
                CHECK(0, "%s tanh near %.9g", targets[t].name, (double)x[0]);
                return;
            }
        }
    }
    CHECK(1, " ");
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* ---- the cache and attention ------------------------------------------------------------------------------------- */

typedef struct attention_case {
    hybrid_type type;
    int n_head, n_head_kv, dim_k, dim_v;
    int32_t window;
    float softcap;
    bool sinks;
    int n_seq, length[3], rows[3]; /* a sequence has length positions; its last rows are queries */
} attention_case;

typedef struct attention_data {
    hyb_kv_view kv;
    size_t bytes_k, bytes_v;
    float *k, *v, *q, *sinks; /* k, v of all sequences in order; q of the queries */
    int n_rows;
    hyb_run all[3], last[3]; /* runs that store everything; runs of the queries */
    int32_t pages[3][32];
} attention_data;

static void attention_create(const attention_case *c, attention_data *d)
{
    int s, p, n_all = 0, n_pages = 0;
    memset(d, 0, sizeof *d);
    d->kv.type = c->type;
    d->kv.n_head_kv = c->n_head_kv;
    d->kv.head_dim_k = c->dim_k;
    d->kv.head_dim_v = c->dim_v;
    d->kv.row_bytes_k = hybrid_type_row_bytes(c->type, (size_t)c->dim_k);
    d->kv.row_bytes_v = hybrid_type_row_bytes(c->type, (size_t)c->dim_v);
    d->kv.page_bytes_k = d->kv.row_bytes_k * HYB_PAGE * (size_t)c->n_head_kv;
    d->kv.page_bytes_v = d->kv.row_bytes_v * HYB_PAGE * (size_t)c->n_head_kv;
    for (s = 0; s < c->n_seq; s++) {
        for (p = 0; p * HYB_PAGE < c->length[s]; p++) d->pages[s][p] = n_pages++;
        d->all[s].first_row = n_all;
        d->all[s].n_rows = c->length[s];
        d->all[s].pages = d->pages[s];
        d->last[s].first_row = d->n_rows;
        d->last[s].n_rows = c->rows[s];
        d->last[s].pos = c->length[s] - c->rows[s];
        d->last[s].pages = d->pages[s];
        n_all += c->length[s];
        d->n_rows += c->rows[s];
    }
    for (s = 0; s < c->n_seq; s++)
        for (p = 0; p * HYB_PAGE < c->length[s]; p++)
            d->pages[s][p] = (d->pages[s][p] * 7 + 3) % (n_pages % 7 ? n_pages : n_pages + 1);
    d->bytes_k = d->kv.page_bytes_k * (size_t)(n_pages + 1);
    d->bytes_v = d->kv.page_bytes_v * (size_t)(n_pages + 1);
    d->kv.k = (char *)malloc(d->bytes_k);
    d->kv.v = (char *)malloc(d->bytes_v);
    memset(d->kv.k, 0xFF, d->bytes_k);
    memset(d->kv.v, 0xFF, d->bytes_v); /* NaN wherever nothing is stored */
    d->k = random_floats((size_t)(n_all * c->n_head_kv * c->dim_k));
    d->v = random_floats((size_t)(n_all * c->n_head_kv * c->dim_v));
    d->q = random_floats((size_t)(d->n_rows * c->n_head * c->dim_k));
    d->sinks = random_floats((size_t)c->n_head);
}
static void attention_destroy(attention_data *d)
{
    free(d->kv.k);
    free(d->kv.v);
    free(d->k);
    free(d->v);
    free(d->q);
    free(d->sinks);
}

/* The ops that follow are about these runs. */
static void begin_runs(hyb_backend *be, hyb_batch *batch, const hyb_run *runs, int n_runs)
{
    int i;
    memset(batch, 0, sizeof *batch);
    batch->runs = runs;
    batch->n_runs = n_runs;
    for (i = 0; i < n_runs; i++) batch->n += runs[i].n_rows;
    be->ops->begin(be, batch);
}

static void attention_store(const target *t, const attention_case *c, attention_data *d)
{
    hyb_op_kv_store op;
    hyb_batch batch;
    begin_runs(t->be, &batch, d->all, c->n_seq);
    op.kv = &d->kv;
    op.k = d->k;
    op.k_stride = c->n_head_kv * c->dim_k;
    op.v = d->v;
    op.v_stride = c->n_head_kv * c->dim_v;
    hyb_do_kv_store(t->be, &op);
}

static float attention_scale(const attention_case *c) { return 1.5f / sqrtf((float)c->dim_k); }
static void attention_run(hyb_backend *be, const attention_case *c, const attention_data *d, const hyb_run *runs,
                          int n_runs, float *out)
{
    hyb_op_attention op;
    hyb_batch batch;
    begin_runs(be, &batch, runs, n_runs);
    op.kv = &d->kv;
    op.q = d->q;
    op.q_stride = c->n_head * c->dim_k;
    op.out = out;
    op.out_stride = c->n_head * c->dim_v;
    op.n_head = c->n_head;
    op.scale = attention_scale(c);
    op.softcap = c->softcap;
    op.window = c->window;
    op.sinks = c->sinks ? d->sinks : NULL;
    hyb_do_attention(be, &op);
}

/* clang-format off */
static const attention_case attention_cases[] = {
    { HYBRID_TYPE_F16, 4, 2, 64, 64, 0, 0, false, 1, { 1 }, { 1 } },                            /* a single token */
    { HYBRID_TYPE_F16, 4, 2, 64, 64, 0, 0, false, 1, { 100 }, { 100 } },
    { HYBRID_TYPE_F16, 8, 1, 128, 128, 0, 0, false, 1, { 230 }, { 70 } },
    { HYBRID_TYPE_F16, 3, 3, 80, 80, 0, 0, false, 2, { 77, 33 }, { 40, 33 } },
    { HYBRID_TYPE_F32, 6, 2, 48, 48, 0, 0, true, 3, { 65, 1, 200 }, { 1, 1, 1 } },
    { HYBRID_TYPE_F16, 4, 4, 96, 64, 0, 30.0f, true, 2, { 129, 96 }, { 129, 1 } },
    { HYBRID_TYPE_F16, 4, 1, 256, 256, 50, 50.0f, true, 1, { 150 }, { 150 } },
    { HYBRID_TYPE_Q8_0, 4, 2, 64, 128, 0, 0, false, 2, { 99, 160 }, { 99, 3 } },
    { HYBRID_TYPE_Q8_0, 2, 1, 32, 32, 33, 0, false, 1, { 300 }, { 270 } },
    { HYBRID_TYPE_F32, 2, 1, 40, 24, 1, 0, false, 1, { 70 },
    { 70 } },                           /* sees only itself; odd sizes */
    { HYBRID_TYPE_F16, 71, 1, 64, 64, 0, 0, false, 1, { 40 },
    { 5 } },                           /* more heads than a tile holds */
    { HYBRID_TYPE_F16, 5, 5, 2, 6, 7, 0, true, 2, { 64, 63 }, { 64, 63 } },
    { HYBRID_TYPE_F32, 14, 2, 64, 64, 100, 0, false, 3, { 400, 90, 128 }, { 31, 30, 2 } }
};
/* clang-format on */

/* Many rows at once and the same rows one at a time. */
static void test_attention(void)
{
    int i, t, s, r;
    TEST("attention, one row at a time");
    for (i = 0; i < (int)HYB_COUNT(attention_cases); i++) {
        const attention_case *c = &attention_cases[i];
        attention_data d;
        float *all, *one;
        size_t n;
        attention_create(c, &d);
        n = (size_t)(d.n_rows * c->n_head * c->dim_v);
        attention_store(&targets[0], c, &d);
        for (t = 0; t < n_targets; t++) {
            all = (float *)calloc(n, sizeof(float));
            one = (float *)calloc(n, sizeof(float));
            attention_run(targets[t].be, c, &d, d.last, c->n_seq, all);
            for (s = 0; s < c->n_seq; s++)
                for (r = 0; r < c->rows[s]; r++) {
                    hyb_run row = d.last[s];
                    row.first_row += r;
                    row.pos += r;
                    row.n_rows = 1;
                    attention_run(targets[t].be, c, &d, &row, 1, one);
                }
            CHECK(first_difference(all, one, n) < 0, "%s case %d: one row at a time differs", targets[t].name, i);
            free(all);
            free(one);
        }
        attention_destroy(&d);
    }
}

/* A NaN in the keys of one position reaches the rows that see it, and no other. */
static void test_attention_nan(void)
{
    static const attention_case c = { HYBRID_TYPE_F16, 4, 2, 64, 64, 40, 0, false, 1, { 120 }, { 120 } };
    int t, in_v, row, i;
    TEST("attention, NaN");
    for (t = 0; t < n_targets; t++)
        for (in_v = 0; in_v < 2; in_v++) {
            attention_data d;
            float *out = (float *)malloc(sizeof(float) * 120 * 256),
                  *clean = (float *)malloc(sizeof(float) * 120 * 256);
            int wrong = 0;
            attention_create(&c, &d);
            attention_store(&targets[t], &c, &d);
            attention_run(targets[t].be, &c, &d, d.last, 1, clean);
            (in_v ? d.v : d.k)[50 * 128 + 3] = hyb_bits_f32(0x7FC00000u); /* position 50, kv head 0 */
            attention_store(&targets[t], &c, &d);
            attention_run(targets[t].be, &c, &d, d.last, 1, out);
            for (row = 0; row < 120; row++)
                for (i = 0; i < 256; i++) {
                    bool sees = row >= 50 && row < 90 && i < 128 && (!in_v || i % 64 == 3);
                    float y = out[row * 256 + i];
                    if (sees ? y == y : hyb_f32_bits(y) != hyb_f32_bits(clean[row * 256 + i])) wrong++;
                }
            CHECK(!wrong, "%s, NaN in %s: %d values are wrong", targets[t].name, in_v ? "v" : "k", wrong);
            attention_destroy(&d);
            free(out);
            free(clean);
        }
}

/* ---- recurrence -------------------------------------------------------------------------------------------------- */

enum { REC_ROWS = 23, REC_HEADS = 2, REC_SLOTS = 3, REC_KINDS = 3 };
static const char *const rec_names[REC_KINDS] = { "shift", "wkv7", "shortconv" };

/* Rows of seven values side by side, which are the inputs of all three ops; two results a row; slots of both heads. */
typedef struct recurrent_data {
    int size, width;
    float *x, *plain, *w, *out, *slots;
} recurrent_data;

static int64_t rec_slot(const recurrent_data *d) { return (int64_t)d->width * d->size; }

static void recurrent_create(recurrent_data *d, int size)
{
    d->size = size;
    d->width = REC_HEADS * size;
    d->x = random_floats((size_t)(REC_ROWS * 7 * d->width));
    d->plain = random_floats((size_t)(REC_ROWS * d->width));
    d->w = random_floats((size_t)(7 * d->width));
    d->out = random_floats((size_t)(REC_ROWS * 2 * d->width));
    d->slots = random_floats((size_t)(REC_SLOTS * rec_slot(d)));
}
static void recurrent_destroy(recurrent_data *d)
{
    free(d->x);
    free(d->plain);
    free(d->w);
    free(d->out);
    free(d->slots);
}

static void recurrent_shift(hyb_backend *be, const recurrent_data *d, hyb_slots slots, int first)
{
    hyb_op_shift op;
    memset(&op, 0, sizeof op);
    op.x = d->plain + first * d->width;
    op.mix = d->w;
    op.n_mix = 2;
    op.n_embd = d->width;
    op.slots = slots;
    op.out = d->out + first * d->width;
    op.plane = (int64_t)REC_ROWS * d->width;
    hyb_do_shift(be, &op);
}
static void recurrent_wkv7(hyb_backend *be, const recurrent_data *d, hyb_slots slots, int first)
{
    const float *x = d->x + first * 7 * d->width;
    hyb_op_wkv7 op;
    memset(&op, 0, sizeof op);
    op.r = x;
    op.k = x + d->width;
    op.v = x + 2 * d->width;
    op.decay = x + 3 * d->width;
    op.rate = x + 4 * d->width;
    op.value_gate = x + 5 * d->width;
    op.gate = x + 6 * d->width;
    op.stride = op.v_first_stride = 7 * d->width;
    op.v_first = x;
    op.k_k = d->w;
    op.k_a = d->w + d->width;
    op.r_k = d->w + 2 * d->width;
    op.ln_w = d->w + 3 * d->width;
    op.ln_b = d->w + 4 * d->width;
    op.eps = 64e-5f;
    op.n_head = REC_HEADS;
    op.size = d->size;
    op.slots = slots;
    op.out = d->out + first * d->width;
    op.out_stride = d->width;
    hyb_do_wkv7(be, &op);
}
static void recurrent_conv(hyb_backend *be, const recurrent_data *d, hyb_slots slots, int first)
{
    hyb_op_shortconv op;
    memset(&op, 0, sizeof op);
    op.bcx = d->x + first * 7 * d->width;
    op.bcx_stride = 7 * d->width;
    op.w = d->w;
    op.n_taps = 5;
    op.n_embd = d->width;
    op.slots = slots;
    op.out = d->out + first * d->width;
    op.out_stride = d->width;
    hyb_do_shortconv(be, &op);
}

/* Rows first .. first + n, from slot `in` to slot `out`. */
static void recurrent_run(hyb_backend *be, const recurrent_data *d, int kind, int first, int n, int32_t in, int32_t out)
{
    hyb_batch batch;
    hyb_slots slots;
    hyb_run run;
    slots.data = d->slots;
    slots.stride = rec_slot(d);
    memset(&run, 0, sizeof run);
    run.n_rows = n;
    run.slot_in = in;
    run.slot_out = out;
    begin_runs(be, &batch, &run, 1);
    if (kind == 0)
        recurrent_shift(be, d, slots, first);
    else if (kind == 1)
        recurrent_wkv7(be, d, slots, first);
    else
        recurrent_conv(be, d, slots, first);
}

/* A run is the same in one go and in any pieces, through one slot or from slot to slot, beginning with nothing. */
static void test_recurrent_pieces(void)
{
    static const int sizes[2] = { 64, 20 };
    int t, kind, i, way;
    TEST("a run in pieces");
    for (i = 0; i < 2; i++)
        for (t = 0; t < n_targets; t++)
            for (kind = 0; kind < REC_KINDS; kind++) {
                recurrent_data d;
                size_t n_out, n_slot;
                float *out, *slot;
                recurrent_create(&d, sizes[i]);
                n_out = (size_t)(REC_ROWS * (kind ? 1 : 2) * d.width);
                n_slot = (size_t)(kind == 0 ? d.width : kind == 1 ? rec_slot(&d) : 4 * d.width);
                recurrent_run(targets[t].be, &d, kind, 0, REC_ROWS, -1, 0);
                out = copy_floats(d.out, n_out);
                slot = copy_floats(d.slots, n_slot);
                for (way = 0; way < 4; way++) {
                    int first = 0, n, piece = 0, at = -1, to;
                    for (; first < REC_ROWS; first += n, at = to) {
                        n = way == 0 ? 1 : random_int(1, 6);
                        n = n < REC_ROWS - first ? n : REC_ROWS - first;
                        to = way < 2 ? 1 : piece++ % REC_SLOTS;
                        recurrent_run(targets[t].be, &d, kind, first, n, at, to);
                    }
                    CHECK(first_difference(d.out, out, n_out) < 0, "%s %s, size %d, way %d: other results",
                          targets[t].name, rec_names[kind], d.size, way);
                    CHECK(first_difference(d.slots + at * rec_slot(&d), slot, n_slot) < 0,
                          "%s %s, size %d, way %d: another state", targets[t].name, rec_names[kind], d.size, way);
                }
                free(out);
                free(slot);
                recurrent_destroy(&d);
            }
}

/* A NaN in column 3 (head 0) of a row reaches the rows and columns that depend on it, and no other. */
static void test_recurrent_nan(void)
{
    enum { AT = 9 };
    int t, kind, row, i;
    TEST("recurrence, NaN");
    for (t = 0; t < n_targets; t++)
        for (kind = 0; kind < REC_KINDS; kind++) {
            recurrent_data d;
            float *clean;
            int wrong = 0;
            recurrent_create(&d, 64);
            recurrent_run(targets[t].be, &d, kind, 0, REC_ROWS, -1, 0);
            clean = copy_floats(d.out, (size_t)(REC_ROWS * d.width));
            if (kind == 0)
                d.plain[AT * d.width + 3] = hyb_bits_f32(0x7FC00000u);
            else
                d.x[AT * 7 * d.width + (kind == 1 ? d.width : 0) + 3] = hyb_bits_f32(0x7FC00000u);
            recurrent_run(targets[t].be, &d, kind, 0, REC_ROWS, -1, 0);
            for (row = 0; row < REC_ROWS; row++)
                for (i = 0; i < d.width; i++) {
                    const bool sees = kind == 0   ? i == 3 && (row == AT || row == AT + 1)
                                      : kind == 1 ? i < 64 && row >= AT
                                                  : i == 3 && row >= AT && row < AT + 5;
                    const float y = d.out[row * d.width + i];
                    if (sees ? y == y : hyb_f32_bits(y) != hyb_f32_bits(clean[row * d.width + i])) wrong++;
                }
            CHECK(!wrong, "%s %s: %d values are wrong", targets[t].name, rec_names[kind], wrong);
            free(clean);
            recurrent_destroy(&d);
        }
}

/* ---- float matrices ---------------------------------------------------------------------------------------------- */

/* One row of a batch = that row alone, whatever the batch. */
static void test_matmul_batch(void)
{
    enum { K = 1040, OUT = 70, N = 53 };
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_F16, HYBRID_TYPE_BF16 };
    int u, t, n, i;
    TEST("float matmul, batch = single row");
    for (u = 0; u < 3; u++)
        for (t = n_targets > 1; t < n_targets; t++) {
            float *w = random_floats(K * OUT), *x = random_floats(K * N), *y = (float *)calloc(N * OUT, sizeof(float)),
                  *one = (float *)calloc(N * OUT, sizeof(float));
            char *data = (char *)malloc(K * OUT * 4);
            hyb_tensor tensor;
            hyb_backend *be;
            hyb_op_matmul op;
            memset(&tensor, 0, sizeof tensor);
            memset(&op, 0, sizeof op);
            tensor.type = types[u];
            tensor.ne[0] = K;
            tensor.ne[1] = OUT;
            tensor.nb[1] = hybrid_type_row_bytes(types[u], K);
            tensor.data = data;
            hybrid_quantize(types[u], w, data, K * OUT, NULL, NULL);
            x[3 * K + 1039] = hyb_bits_f32(0x7FC00000u); /* a NaN stays in its row */
            be = create_backend(targets[t].name, 2, &tensor, 1);
            op.x_stride = K;
            op.n_out = 1;
            op.out[0].w = &tensor;
            op.out[0].y_stride = OUT;
            for (i = 0; i < N; i++) {
                op.x = x + i * K;
                op.n = 1;
                op.out[0].y = one + i * OUT;
                hyb_do_matmul(be, &op);
            }
            for (n = 2; n <= N; n += n < 20 ? 1 : 25) {
                op.x = x;
                op.n = n;
                op.out[0].y = y;
                hyb_do_matmul(be, &op);
                CHECK(first_difference(one, y, (size_t)(n * OUT)) < 0, "%s type %d n %d", targets[t].name,
                      (int)types[u], n);
            }
            CHECK(one[3 * OUT] != one[3 * OUT] && one[4 * OUT] == one[4 * OUT], "NaN");
            be->ops->destroy(be);
            free(w);
            free(x);
            free(y);
            free(one);
            free(data);
        }
}

/* ---- mixtures of experts ----------------------------------------------------------------------------------------- */

/* Matrices of n_expert experts in a type, and what they decode to. */
typedef struct expert_matrices {
    hyb_tensor w;
    float *values;
    char *data;
} expert_matrices;
static void experts_create(expert_matrices *m, hybrid_type type, int k, int out, int n_expert)
{
    const size_t row = hybrid_type_row_bytes(type, (size_t)k), n = (size_t)k * (size_t)out * (size_t)n_expert;
    memset(m, 0, sizeof *m);
    m->values = random_floats(n);
    m->data = (char *)malloc(row * (size_t)out * (size_t)n_expert);
    CHECK(hybrid_quantize(type, m->values, m->data, n, NULL, NULL) == HYBRID_OK &&
              hybrid_dequantize(type, m->data, m->values, n, NULL) == HYBRID_OK,
          "encode");
    m->w.type = type;
    m->w.ne[0] = k;
    m->w.ne[1] = out;
    m->w.ne[2] = n_expert;
    m->w.ne[3] = 1;
    m->w.nb[1] = row;
    m->w.nb[2] = row * (size_t)out;
    m->w.nb[3] = m->w.nb[2] * (size_t)n_expert;
    m->w.data = m->data;
}
static void experts_destroy(expert_matrices *m)
{
    free(m->values);
    free(m->data);
}

/* A back end with room for exactly this. */
static hyb_backend *experts_backend(const char *isa, int threads, const expert_matrices *m, int n_w, int n, int n_used)
{
    hybrid_runtime_desc desc;
    hyb_limits limits;
    hybrid_runtime *rt = NULL;
    hyb_backend *be = NULL;
    int i;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = isa;
    desc.n_threads = threads;
    limits.n_rows = n;
    limits.n_expert_used = n_used;
    CHECK(!hybrid_runtime_create(&desc, &rt, NULL), "runtime %s", isa);
    for (i = 0; i < n_w; i++) CHECK(hyb_cpu_limits_matrix(rt, &limits, &m[i].w), "type %d", (int)m[i].w.type);
    CHECK(!hyb_cpu_backend_create(rt, &limits, &be, NULL), "back end %s", isa);
    hybrid_runtime_destroy(rt);
    return be;
}

/* Experts of each row, all different; crowded: many rows choose the same. */
static void choose_experts(int32_t *ids, int n, int n_used, int n_expert, bool crowded)
{
    int r, s, i;
    for (r = 0; r < n; r++)
        for (s = 0; s < n_used; s++) {
            int32_t *row = ids + r * n_used;
            row[s] = crowded && s == 0 && random_int(0, 4) ? n_expert - 1 : random_int(0, n_expert - 1);
            for (i = 0; i < s; i++)
                if (row[i] == row[s]) {
                    row[s] = (row[s] + 1) % n_expert;
                    i = -1;
                }
        }
}

/* What matmul makes of each choice alone: the same bits are asked of experts. And near is the product in double. */
static void experts_one_by_one(const hyb_op_experts *op, const expert_matrices *m, int o, float *want)
{
    const int k = (int)m[o].w.ne[0], out = (int)m[o].w.ne[1];
    hyb_backend *be;
    hyb_op_matmul mm;
    hyb_tensor w = m[o].w;
    double worst = 0, most = 0, sum;
    int c, r, i;
    w.ne[2] = 1;
    be = create_backend("generic", 1, &w, 1);
    for (c = 0; c < op->n * op->n_used; c++) {
        const float *x = op->x + (op->each_own ? c : c / op->n_used) * op->x_stride,
                    *values = m[o].values + (size_t)op->ids[c] * (size_t)k * (size_t)out;
        memset(&mm, 0, sizeof mm);
        w.data = m[o].data + (size_t)op->ids[c] * m[o].w.nb[2];
        mm.x = x;
        mm.x_stride = k;
        mm.n = mm.n_out = 1;
        mm.out[0].w = &w;
        mm.out[0].y = want + (size_t)c * (size_t)out;
        mm.out[0].y_stride = out;
        hyb_do_matmul(be, &mm);
        for (r = 0; r < out; r++) {
            for (sum = 0, i = 0; i < k; i++) sum += (double)values[r * k + i] * x[i];
            worst = HYB_MAX(worst, fabs(sum - want[c * out + r]));
            most = HYB_MAX(most, fabs(sum));
        }
    }
    CHECK(worst <= (hybrid_type_block_size(m[o].w.type) > 1 ? 2e-2 : 2e-6) * most, "%s: %g of %g",
          hybrid_type_name(m[o].w.type), worst, most);
    be->ops->destroy(be);
}

static void test_experts(void)
{
    /* clang-format off */
    static const hybrid_type types[][2] = {
        { HYBRID_TYPE_F32, HYBRID_TYPE_F32 },   { HYBRID_TYPE_F16, HYBRID_TYPE_BF16 },
        { HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q8_0 }, { HYBRID_TYPE_Q4_0, HYBRID_TYPE_F32 },
        { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K }, { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q8_0 },
        { HYBRID_TYPE_IQ4_NL, HYBRID_TYPE_Q8_0 }
    };
    /* clang-format on */
    static const struct {
        int out, n_expert, n, n_used;
        bool each_own, crowded;
    } cases[] = { { 40, 8, 1, 2, false, false },   { 33, 8, 1, 8, true, false }, { 70, 5, 3, 2, false, true },
                  { 130, 16, 45, 4, false, true }, { 65, 4, 30, 3, true, true }, { 1, 2, 7, 1, false, false },
                  { 17, 64, 9, 6, true, false },   { 96, 3, 20, 1, true, true } };
    char part[64];
    int u, i, t, o;
    TEST("experts");
    for (u = 0; u < (int)HYB_COUNT(types); u++)
        for (i = 0; i < (int)HYB_COUNT(cases); i++) {
            const int k = u == 0 ? 39 : 256 + (u < 4 ? 32 : 0), out = cases[i].out,
                      n_choices = cases[i].n * cases[i].n_used, y_stride = out + 3;
            const size_t values = (size_t)n_choices * (size_t)y_stride;
            expert_matrices m[2];
            int32_t *ids = (int32_t *)malloc((size_t)n_choices * sizeof *ids);
            float *x = random_floats((size_t)n_choices * (size_t)(k + 5)), *want[2];
            hyb_op_experts op;
            /* to encode the matrices takes most of the time */
            snprintf(part, sizeof part, "experts, types %d, case %d", u, i);
            if (!test_wanted(part)) {
                free(ids);
                free(x);
                continue;
            }
            memset(&op, 0, sizeof op);
            choose_experts(ids, cases[i].n, cases[i].n_used, cases[i].n_expert, cases[i].crowded);
            op.x = x;
            op.x_stride = k + 5;
            op.ids = ids;
            op.n = cases[i].n;
            op.n_used = cases[i].n_used;
            op.each_own = cases[i].each_own;
            op.n_out = 1 + (i + u) % 2;
            for (o = 0; o < op.n_out; o++) {
                experts_create(&m[o], types[u][o], k, out + o, cases[i].n_expert);
                want[o] = (float *)malloc((size_t)n_choices * (size_t)(out + o) * sizeof(float));
                experts_one_by_one(&op, m, o, want[o]);
            }
            for (t = 0; t < n_targets * 2; t++) {
                hyb_backend *be = experts_backend(targets[t / 2].name, t % 2 ? 3 : 1, m, op.n_out, op.n, op.n_used);
                for (o = 0; o < op.n_out; o++) {
                    op.out[o].w = &m[o].w;
                    op.out[o].y_stride = y_stride;
                    op.out[o].y = (float *)calloc(values, sizeof(float));
                }
                hyb_do_experts(be, &op);
                for (o = 0; o < op.n_out; o++) {
                    int c, wrong = 0, beyond = 0, a;
                    for (c = 0; c < n_choices; c++) {
                        wrong += first_difference(op.out[o].y + c * y_stride, want[o] + c * (out + o),
                                                  (size_t)(out + o)) >= 0;
                        for (a = out + o; a < y_stride; a++) beyond += op.out[o].y[c * y_stride + a] != 0;
                    }
                    CHECK(!wrong && !beyond,
                          "%s, %d threads, types %d, case %d, matrix %d: %d of %d rows differ, %d values beyond them",
                          targets[t / 2].name, t % 2 ? 3 : 1, u, i, o, wrong, n_choices, beyond);
                    free(op.out[o].y);
                }
                be->ops->destroy(be);
            }
            for (o = 0; o < op.n_out; o++) {
                experts_destroy(&m[o]);
                free(want[o]);
            }
            free(ids);
            free(x);
        }
}

/* ---- what PyTorch says ------------------------------------------------------------------------------------------- */

static hybrid_gguf *oracle;
static float *oracle_floats(const char *name)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(oracle, name);
    float *p = (float *)malloc(t ? (size_t)t->size + 64 : 64);
    CHECK(t && !hybrid_gguf_read_tensor(oracle, t, p, NULL), "%s", name);
    return p;
}
/* What the named vector and ours differ by at most, relative to the largest value. Frees ours. */
static double oracle_distance(float *ours, const char *name, size_t n)
{
    float *theirs = oracle_floats(name);
    double *exact = (double *)malloc(n * sizeof *exact), d;
    size_t i;
    for (i = 0; i < n; i++) exact[i] = theirs[i];
    d = distance(ours, exact, n);
    free(ours);
    free(theirs);
    free(exact);
    return d;
}

static void oracle_rope(hyb_backend *be)
{
    enum { N = 5, HEADS = 2, DIM = 32, ALL = N * HEADS * DIM };
    float *x = oracle_floats("rope.x"), *pos = oracle_floats("rope.pos"), table[N * DIM], *y;
    hyb_op_rope op;
    double d;
    int r, j, kind;
    for (r = 0; r < N; r++)
        for (j = 0; j < DIM / 2; j++) {
            double s, c;
            hyb_sincos((double)pos[r] * pow(10000.0, -2.0 * j / DIM), &s, &c);
            table[r * DIM + 2 * j] = (float)c;
            table[r * DIM + 2 * j + 1] = (float)s;
        }
    for (kind = 0; kind < 2; kind++) {
        y = copy_floats(x, ALL);
        op.kind = kind ? HYB_ROPE_NEOX : HYB_ROPE_NORM;
        op.x = op.out = y;
        op.x_stride = op.out_stride = HEADS * DIM;
        op.n = N;
        op.n_head = HEADS;
        op.head_dim = op.n_rot = DIM;
        op.table = table;
        hyb_do_rope(be, &op);
        d = oracle_distance(y, kind ? "rope.neox" : "rope.norm", ALL);
        CHECK(d < 2e-7, "kind %d: %g", kind, d);
    }
    free(x);
    free(pos);
}

static void oracle_rows(hyb_backend *be)
{
    static const char *const names[HYB_ACT_KINDS] = { "glu.silu", "glu.gelu_tanh", "glu.gelu",
                                                      "glu.tanh", "glu.sigmoid",   "glu.relu2" };
    float *x = oracle_floats("norm.x"), *w = oracle_floats("norm.w"), *b = oracle_floats("norm.b"),
          *gate = oracle_floats("glu.gate"), *up = oracle_floats("glu.up"), *y;
    double d;
    int kind;
    for (kind = 0; kind < 2; kind++) {
        hyb_op_norm op;
        op.kind = kind ? HYB_NORM_LAYER : HYB_NORM_RMS;
        op.x = x;
        op.out = y = copy_floats(x, 300);
        op.x_stride = op.out_stride = op.n = 100;
        op.n_rows = 3;
        op.n_group = 1;
        op.w = w;
        op.b = kind ? b : NULL;
        op.eps = 1e-5f;
        hyb_do_norm(be, &op);
        d = oracle_distance(y, kind ? "norm.layer" : "norm.rms", 300);
        CHECK(d < 3e-7, "norm %d: %g", kind, d);
    }
    for (kind = 0; kind < HYB_ACT_KINDS; kind++) {
        hyb_op_glu op;
        op.act = (hyb_act_kind)kind;
        op.gate = gate;
        op.up = up;
        op.out = y = copy_floats(gate, 500);
        op.gate_stride = op.up_stride = op.out_stride = op.n = 500;
        op.n_rows = 1;
        hyb_do_glu(be, &op);
        d = oracle_distance(y, names[kind], 500);
        CHECK(d < 1.5e-7, "%s: %g", names[kind], d);
    }
    free(x);
    free(w);
    free(b);
    free(gate);
    free(up);
}

/* Recurrent ops from the states of PyTorch's: two heads of 16, 11 rows, in a run from slot 0 to slot 1. */
enum { ORACLE_ROWS = 11, ORACLE_HEADS = 2, ORACLE_SIZE = 16, ORACLE_WIDTH = ORACLE_HEADS * ORACLE_SIZE };

/* Two slots, the first with what a name says. */
static hyb_slots oracle_slots(const char *name, size_t n)
{
    float *first = oracle_floats(name);
    hyb_slots slots;
    slots.stride = (int64_t)n;
    slots.data = (float *)calloc(2 * n, sizeof *first);
    memcpy(slots.data, first, n * sizeof *first);
    free(first);
    return slots;
}
/* out and the slot that was left, against theirs. Frees both. */
static void oracle_left(const target *t, float *out, hyb_slots slots, const char *name)
{
    float *left = copy_floats(slots.data + slots.stride, (size_t)slots.stride);
    char part[64];
    double d;
    snprintf(part, sizeof part, "%s.left", name);
    d = oracle_distance(left, part, (size_t)slots.stride);
    CHECK(d < 1e-6, "%s %s: %g", t->name, part, d);
    snprintf(part, sizeof part, "%s.out", name);
    d = oracle_distance(out, part, ORACLE_ROWS * ORACLE_WIDTH);
    CHECK(d < 2e-6, "%s %s: %g", t->name, part, d);
    free(slots.data);
}

static void oracle_wkv7(const target *t)
{
    static const char *const names[13] = { "r",       "k",   "v",   "decay", "rate", "value_gate", "gate",
                                           "v_first", "k_k", "k_a", "r_k",   "ln_w", "ln_b" };
    float *x[13];
    hyb_op_wkv7 op;
    char name[64];
    int i;
    for (i = 0; i < 13; i++) {
        snprintf(name, sizeof name, "wkv7.%s", names[i]);
        x[i] = oracle_floats(name);
    }
    memset(&op, 0, sizeof op);
    op.r = x[0];
    op.k = x[1];
    op.v = x[2];
    op.decay = x[3];
    op.rate = x[4];
    op.value_gate = x[5];
    op.gate = x[6];
    op.v_first = x[7];
    op.k_k = x[8];
    op.k_a = x[9];
    op.r_k = x[10];
    op.ln_w = x[11];
    op.ln_b = x[12];
    op.stride = op.v_first_stride = op.out_stride = ORACLE_WIDTH;
    op.eps = 64e-5f;
    op.n_head = ORACLE_HEADS;
    op.size = ORACLE_SIZE;
    op.out = (float *)calloc(ORACLE_ROWS * ORACLE_WIDTH, sizeof(float));
    op.slots = oracle_slots("wkv7.state", ORACLE_WIDTH * ORACLE_SIZE);
    hyb_do_wkv7(t->be, &op);
    oracle_left(t, op.out, op.slots, "wkv7");
    for (i = 0; i < 13; i++) free(x[i]);
}

static void oracle_columns(const target *t)
{
    float *x = oracle_floats("shift.x"), *mix = oracle_floats("shift.mix"), *bcx = oracle_floats("shortconv.bcx"),
          *w = oracle_floats("shortconv.w");
    hyb_op_shift shift;
    hyb_op_shortconv conv;
    memset(&shift, 0, sizeof shift);
    memset(&conv, 0, sizeof conv);
    shift.x = x;
    shift.mix = mix;
    shift.n_mix = 1;
    shift.n_embd = conv.n_embd = conv.out_stride = ORACLE_WIDTH;
    shift.slots = oracle_slots("shift.state", ORACLE_WIDTH);
    shift.out = (float *)calloc(ORACLE_ROWS * ORACLE_WIDTH, sizeof(float));
    hyb_do_shift(t->be, &shift);
    oracle_left(t, shift.out, shift.slots, "shift");
    conv.bcx = bcx;
    conv.bcx_stride = 3 * ORACLE_WIDTH;
    conv.w = w;
    conv.n_taps = 3;
    conv.slots = oracle_slots("shortconv.state", 2 * ORACLE_WIDTH);
    conv.out = (float *)calloc(ORACLE_ROWS * ORACLE_WIDTH, sizeof(float));
    hyb_do_shortconv(t->be, &conv);
    oracle_left(t, conv.out, conv.slots, "shortconv");
    free(x);
    free(mix);
    free(bcx);
    free(w);
}

static void oracle_recurrent(const target *t)
{
    hyb_batch batch;
    hyb_run run;
    memset(&run, 0, sizeof run);
    run.n_rows = ORACLE_ROWS;
    run.slot_out = 1;
    begin_runs(t->be, &batch, &run, 1);
    oracle_wkv7(t);
    oracle_columns(t);
}

static void oracle_attention(const target *t)
{
    static const attention_case cases[2] = { { HYBRID_TYPE_F32, 4, 2, 16, 16, 20, 2.0f, false, 1, { 40 }, { 40 } },
                                             { HYBRID_TYPE_F32, 4, 2, 16, 16, 20, 0, true, 1, { 40 }, { 40 } } };
    static const char *const names[2] = { "gemma2", "gpt_oss" };
    int i, j;
    for (i = 0; i < 2; i++) {
        attention_data d;
        hyb_op_attention op;
        hyb_batch batch;
        float *out = (float *)malloc(sizeof(float) * 40 * 64), *part[4];
        char name[64];
        double far;
        attention_create(&cases[i], &d);
        for (j = 0; j < 3; j++) {
            snprintf(name, sizeof name, "attention.%s.%c", names[i], "qkv"[j]);
            part[j] = oracle_floats(name);
        }
        part[3] = oracle_floats("attention.sinks");
        memcpy(d.k, part[1], sizeof(float) * 40 * 32);
        memcpy(d.v, part[2], sizeof(float) * 40 * 32);
        attention_store(t, &cases[i], &d);
        begin_runs(t->be, &batch, d.last, 1);
        op.kv = &d.kv;
        op.q = part[0];
        op.out = out;
        op.q_stride = op.out_stride = 64;
        op.n_head = 4;
        op.scale = 0.25f;
        op.softcap = cases[i].softcap;
        op.window = 20;
        op.sinks = cases[i].sinks ? part[3] : NULL;
        hyb_do_attention(t->be, &op);
        snprintf(name, sizeof name, "attention.%s.out", names[i]);
        far = oracle_distance(out, name, 40 * 64);
        CHECK(far < 5e-7, "%s %s: %g", t->name, names[i], far);
        for (j = 0; j < 4; j++) free(part[j]);
        attention_destroy(&d);
    }
}

static void test_oracle(void)
{
    hybrid_source source;
    hybrid_error e;
    int t;
    TEST("PyTorch");
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/ops.gguf";
    if (hybrid_gguf_open(NULL, &source, &oracle, &e)) {
        CHECK(0, "%s (run from the repository's root)", e.message);
        return;
    }
    for (t = 0; t < n_targets; t++) {
        oracle_rope(targets[t].be);
        oracle_rows(targets[t].be);
        oracle_attention(&targets[t]);
        oracle_recurrent(&targets[t]);
    }
    hybrid_gguf_destroy(oracle);
}

/* Every op of the list on every instruction set. */
static void test_drawn(void)
{
    static side reference, others[2 * MAX_TARGETS];
    const bool slow = getenv("HYBRID_SANITIZER") != NULL;
    int t, n = 0;
    side_host(&reference, "generic", 1);
    for (t = 0; t < n_targets; t++) {
        if (t) n += side_host(&others[n], targets[t].name, 1);
        n += side_host(&others[n], targets[t].name, 3);
    }
    ops_compare(&reference, others, n, slow ? 12 : 60, false);
    while (n > 0) hybrid_runtime_destroy(others[--n].rt);
    hybrid_runtime_destroy(reference.rt);
}

/* Which run a row belongs to. */
static void test_seam(void)
{
    static const hyb_run runs[3] = { { 0, 4, 0, NULL, -1, -1 }, { 4, 1, 7, NULL, -1, -1 }, { 5, 3, 2, NULL, -1, -1 } };
    static const int32_t out[2] = { 4, 7 };
    static const int want[8] = { 0, 0, 0, 0, 1, 2, 2, 2 };
    hyb_batch batch;
    int i;
    TEST("rows know their run");
    memset(&batch, 0, sizeof batch);
    batch.runs = runs;
    batch.n_runs = 3;
    batch.n = 8;
    batch.out = out;
    batch.n_out = 2;
    for (i = 0; i < 8; i++) CHECK(hyb_run_of_row(&batch, HYB_ROWS_BATCH, i) == want[i], "row %d", i);
    for (i = 0; i < 2; i++) CHECK(hyb_run_of_row(&batch, HYB_ROWS_OUT, i) == i + 1, "row %d of those gathered", i);
}

int main(int argc, char **argv)
{
    /* 1: all floats, minutes */
    uint32_t step = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : getenv("HYBRID_SANITIZER") ? 65521 : 4093;
    int i;
    create_targets();
    test_drawn();
    if (getenv("HYBRID_ONLY")) return test_end();
    test_seam();
    test_math(step);
    test_math_targets(step);
    test_attention();
    test_attention_nan();
    test_recurrent_pieces();
    test_recurrent_nan();
    test_matmul_batch();
    test_experts();
    test_oracle();
    for (i = 0; i < n_targets; i++) targets[i].be->ops->destroy(targets[i].be);
    return test_end();
}
