/* The operations of the CPU back end: against plain double-precision statements written here, against vectors made by PyTorch
 * (oracle/make_ops.py), and every instruction set against the scalar reference, bit by bit. [simd] [aarch64] */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"

/* ---- tools ---------------------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;
static uint32_t random_bits(void) { seed = seed * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(seed >> 32); }
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

/* Equal bits; any NaN equals any NaN, for which operand's payload survives is the compiler's choice. Returns the first difference, or -1. */
static int64_t first_difference(const float *a, const float *b, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) if (hybrid__f32_bits(a[i]) != hybrid__f32_bits(b[i]) && !(a[i] != a[i] && b[i] != b[i])) return (int64_t)i;
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
typedef struct target { hybrid_runtime *rt; hybrid__backend *be; const char *name; } target;
static target targets[MAX_TARGETS];
static int n_targets;

static hybrid__backend *create_backend(const char *isa, int n_threads, const hybrid__tensor *w, int n_w)
{
    hybrid_runtime_desc desc;
    hybrid__limits limits;
    hybrid_runtime *rt = NULL;
    hybrid__backend *be = NULL;
    int i;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = isa;
    desc.n_threads = n_threads;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "runtime %s", isa);
    limits.n_rows = 256;
    limits.head_dim_k = limits.head_dim_v = 256;
    for (i = 0; i < n_w; i++) CHECK(hybrid__cpu_limits_matrix(rt, &limits, &w[i]), "no kernel for type %d", (int)w[i].type);
    CHECK(hybrid__cpu_backend_create(rt, &limits, &be, NULL) == HYBRID_OK, "back end %s", isa);
    hybrid_runtime_destroy(rt);                                /* the back end keeps it */
    return be;
}

static void create_targets(void)
{
    static const char *const names[] = { "generic", "avx2", "avxvnni", "avx512", "neon" };
    int i;
    for (i = 0; i < (int)HYBRID__COUNT(names); i++) {
        target *t = &targets[n_targets];
        t->be = create_backend(names[i], 1, NULL, 0);
        t->rt = t->be->rt;
        t->name = names[i];
        if (!strcmp(hybrid_runtime_isa(t->rt), names[i])) n_targets++;
        else t->be->ops->destroy(t->be);
    }
}

/* ---- exp, tanh, silu, gelu ------------------------------------------------------------------------------------------ */

static double exact_exp(double x) { return exp(x); }
static double exact_tanh(double x) { return tanh(x); }
static double exact_silu(double x) { return x / (1 + exp(-x)); }
static double exact_gelu(double x) { return 0.5 * x * erfc(-x * 0.70710678118654752440); }
static double exact_gelu_tanh(double x) { return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
static float ours_exp(float x) { return hybrid__exp_scalar(x); }
static float ours_tanh(float x) { return hybrid__tanh_scalar(x); }
static float ours_silu(float x) { return hybrid__silu_scalar(x); }
static float ours_gelu(float x) { return hybrid__gelu_scalar(x); }
static float ours_gelu_tanh(float x) { return hybrid__gelu_tanh_scalar(x); }

/* Every step-th float of both signs: error in units of the result's last place; results below `tiny` may be any below it. */
static void test_function(const char *name, float (*ours)(float), double (*exact)(double), double limit, double tiny, uint32_t step)
{
    double worst = 0;
    float at = 0;
    uint64_t u;
    for (u = 0; u < 0x100000000u; u += step) {
        float x = hybrid__bits_f32((uint32_t)u), y;
        double e, ulp, error;
        if (!(fabsf(x) < HUGE_VALF)) continue;
        e = exact((double)x);
        y = ours(x);
        if (fabs(e) >= 3.4028235e38) { if (!(y > 3e38f)) { worst = 1e9; at = x; } continue; }
        if (fabs(e) < tiny && fabs((double)y) < tiny) continue;
        ulp = ldexp(1.0, HYBRID__MAX(ilogb(e), -126) - 23);
        error = fabs((double)y - e) / ulp;
        if (!(error <= worst)) { worst = error; at = x; }
    }
    if (getenv("HYBRID_VERBOSE")) printf("%s: worst error %.3f ulp at %.9g\n", name, worst, (double)at);
    CHECK(worst <= limit, "%s: %.3f ulp at %.9g", name, worst, (double)at);
}

static void test_math(uint32_t step)
{
    float nan = hybrid__bits_f32(0x7FC00001u), inf = HUGE_VALF;
    int i;
    TEST("math");
    test_function("exp", ours_exp, exact_exp, 1.0, 0, step);
    test_function("tanh", ours_tanh, exact_tanh, 1.4, 0, step);
    test_function("silu", ours_silu, exact_silu, 2.3, 3e-37, step);
    test_function("gelu", ours_gelu, exact_gelu, 4.0, 3e-37, step);
    test_function("gelu_tanh", ours_gelu_tanh, exact_gelu_tanh, 2.0, 3e-37, step);
    CHECK(ours_exp(-inf) == 0 && ours_exp(inf) == inf && ours_exp(0) == 1 && ours_exp(-104.5f) == 0, "ends of exp");
    CHECK(ours_exp(-100.0f) > 0 && ours_exp(-100.0f) < 1e-43f, "exp reaches the subnormal numbers");
    CHECK(ours_tanh(inf) == 1 && ours_tanh(-inf) == -1 && hybrid__f32_bits(ours_tanh(-0.0f)) == 0x80000000u, "ends of tanh");
    CHECK(ours_silu(inf) == inf && ours_silu(-inf) == 0 && ours_gelu(inf) == inf && ours_gelu(-inf) == 0 && ours_gelu_tanh(inf) == inf && ours_gelu_tanh(-inf) == 0, "ends of silu and gelu");
    CHECK(ours_tanh(1e-42f) == 1e-42f && ours_silu(1e-42f) > 0, "subnormal arguments");
    CHECK(ours_exp(nan) != ours_exp(nan) && ours_tanh(nan) != ours_tanh(nan) && ours_silu(nan) != ours_silu(nan) && ours_gelu(nan) != ours_gelu(nan)
        && ours_gelu_tanh(nan) != ours_gelu_tanh(nan), "NaN stays NaN");

    TEST("sine and cosine");
    {
        double worst = 0, s, c;
        for (i = 0; i < 200000; i++) {
            double x = ldexp((double)random_bits() - 2147483648.0, -31) * pow(10, random_int(-8, 7)), d;
            hybrid__sincos(x, &s, &c);
            d = fmax(fabs(s - sin(x)), fabs(c - cos(x)));
            worst = d > worst ? d : worst;
        }
        CHECK(worst < 5e-16, "error %g", worst);
        hybrid__sincos(0, &s, &c);
        CHECK(s == 0 && c == 1, "of 0");
        hybrid__sincos((double)inf, &s, &c);
        CHECK(s != s && c != c, "of infinity");
    }
}

static void softcap_of(hybrid__backend *be, float *y, float cap, int64_t n)
{
    hybrid__op_softcap op;
    op.x = op.out = y; op.cap = cap; op.n = n;
    hybrid__do_softcap(be, &op);
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
        for (i = 0; i < N; i++, u += step) x[i] = hybrid__bits_f32((uint32_t)u);
        for (t = 1; t < n_targets; t++) {
            for (act = 0; act < 3; act++) {
                hybrid__op_glu op;
                int64_t d;
                memset(&op, 0, sizeof op);
                op.act = (hybrid__act_kind)act; op.gate = x; op.n_rows = 1; op.n = N;
                op.out = y[0]; hybrid__do_glu(targets[0].be, &op);
                op.out = y[1]; hybrid__do_glu(targets[t].be, &op);
                d = first_difference(y[0], y[1], N);
                if (d >= 0) { CHECK(0, "%s activation %d of %.9g: %.9g, not %.9g", targets[t].name, act, (double)x[d], (double)y[1][d], (double)y[0][d]); return; }
            }
            memcpy(y[0], x, sizeof x); softcap_of(targets[0].be, y[0], 1.0f, N);
            memcpy(y[1], x, sizeof x); softcap_of(targets[t].be, y[1], 1.0f, N);
            if (first_difference(y[0], y[1], N) >= 0) { CHECK(0, "%s tanh near %.9g", targets[t].name, (double)x[0]); return; }
        }
    }
    CHECK(1, " ");
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void test_norm(void)
{
    static const int sizes[] = { 1, 3, 31, 32, 33, 48, 64, 100, 896, 2048, 2049 };
    int i, kind, variant, t;
    TEST("norm");
    for (i = 0; i < (int)HYBRID__COUNT(sizes); i++)
        for (kind = 0; kind < 2; kind++)
            for (variant = 0; variant < 4; variant++) {
                int n = sizes[i], rows = 5, stride = n + 3, r, j;
                float *x = random_floats((size_t)(rows * stride)), *w = random_floats((size_t)n), *b = random_floats((size_t)n), *out[2];
                double *exact = (double *)malloc(sizeof(double) * (size_t)(rows * n));
                hybrid__op_norm op;
                for (r = 0; r < rows * stride; r++) x[r] += 0.7f;
                for (r = 0; r < rows; r++) {
                    double mean = 0, var = 0;
                    for (j = 0; j < n; j++) mean += x[r * stride + j];
                    mean = kind == HYBRID__NORM_LAYER ? mean / n : 0;
                    for (j = 0; j < n; j++) var += (x[r * stride + j] - mean) * (x[r * stride + j] - mean);
                    for (j = 0; j < n; j++) exact[r * n + j] = (x[r * stride + j] - mean) / sqrt(var / n + 1e-5) * (variant & 1 ? w[j] : 1) + (variant & 2 ? b[j] : 0);
                }
                for (t = 0; t < n_targets; t++) {
                    out[t != 0] = (float *)calloc((size_t)(rows * n), sizeof(float));
                    memset(&op, 0, sizeof op);
                    op.kind = (hybrid__norm_kind)kind; op.x = x; op.x_stride = stride; op.out = out[t != 0]; op.out_stride = n;
                    op.w = variant & 1 ? w : NULL; op.b = variant & 2 ? b : NULL; op.n_rows = rows; op.n_group = 1; op.n = n; op.eps = 1e-5f;
                    hybrid__do_norm(targets[t].be, &op);
                    if (t) CHECK(first_difference(out[0], out[1], (size_t)(rows * n)) < 0, "%s kind %d n %d", targets[t].name, kind, n);
                    else CHECK(distance(out[0], exact, (size_t)(rows * n)) < 2e-6, "kind %d n %d: %g", kind, n, distance(out[0], exact, (size_t)(rows * n)));
                    if (t) {
                        float *self = copy_floats(x, (size_t)(rows * stride));             /* in place */
                        op.x = op.out = self; op.out_stride = stride;
                        hybrid__do_norm(targets[t].be, &op);
                        CHECK(first_difference(out[0], self, (size_t)n) < 0, "%s in place, n %d", targets[t].name, n);
                        free(self);
                        free(out[1]);
                    }
                }
                free(x); free(w); free(b); free(out[0]); free(exact);
            }
}

static void test_rope(void)
{
    static const int shapes[][3] = { { 1, 64, 64 }, { 3, 128, 128 }, { 2, 80, 32 }, { 5, 48, 48 }, { 2, 96, 24 }, { 1, 6, 2 }, { 2, 256, 64 }, { 3, 10, 10 } };
    int i, kind, t, n = 3;
    TEST("rope");
    for (i = 0; i < (int)HYBRID__COUNT(shapes); i++)
        for (kind = 0; kind < 2; kind++) {
            int heads = shapes[i][0], dim = shapes[i][1], rot = shapes[i][2], stride = heads * dim + 5, r, h, j;
            float *x = random_floats((size_t)(n * stride)), *table = (float *)malloc(sizeof(float) * (size_t)(n * rot)), *out[2];
            double *exact = (double *)malloc(sizeof(double) * (size_t)(n * stride));
            for (r = 0; r < n * stride; r++) exact[r] = x[r];
            for (r = 0; r < n; r++)
                for (j = 0; j < rot / 2; j++) {
                    double angle = (1000.0 * r + 7) * pow(10000.0, -2.0 * j / rot), s, c;
                    hybrid__sincos(angle, &s, &c);
                    table[r * rot + 2 * j] = (float)c;
                    table[r * rot + 2 * j + 1] = (float)s;
                    for (h = 0; h < heads; h++) {                       /* as a complex product with e^(i angle) */
                        int at = r * stride + h * dim, a = at + (kind == HYBRID__ROPE_NORM ? 2 * j : j), b = kind == HYBRID__ROPE_NORM ? a + 1 : a + rot / 2;
                        double length = hypot(x[a], x[b]), turn = atan2(x[b], x[a]) + angle;
                        exact[a] = length * cos(turn);
                        exact[b] = length * sin(turn);
                    }
                }
            for (t = 0; t < n_targets; t++) {
                hybrid__op_rope op;
                out[t != 0] = copy_floats(x, (size_t)(n * stride));
                op.kind = (hybrid__rope_kind)kind; op.x = op.out = out[t != 0]; op.x_stride = op.out_stride = stride; op.n = n; op.n_head = heads; op.head_dim = dim; op.n_rot = rot; op.table = table;
                hybrid__do_rope(targets[t].be, &op);
                if (t) CHECK(first_difference(out[0], out[1], (size_t)(n * stride)) < 0, "%s kind %d dim %d rot %d", targets[t].name, kind, dim, rot);
                else CHECK(distance(out[0], exact, (size_t)(n * stride)) < 3e-7, "kind %d dim %d rot %d: %g", kind, dim, rot, distance(out[0], exact, (size_t)(n * stride)));
                if (t) free(out[1]);
            }
            free(x); free(table); free(out[0]); free(exact);
        }
}

static void test_values(void)
{
    static const int sizes[] = { 1, 7, 15, 16, 17, 100, 4096, 4099, 20001 };
    int i, t, k, act, n, rows = 3;
    TEST("glu, add, scale, softcap");
    for (i = 0; i < (int)HYBRID__COUNT(sizes); i++) {
        float *x, *z, *y[2];
        double *exact;
        n = sizes[i];
        x = random_floats((size_t)(rows * n)); z = random_floats((size_t)(rows * n));
        exact = (double *)malloc(sizeof(double) * (size_t)(rows * n));
        for (k = 0; k < 9; k++) {
            hybrid__op_glu op;
            hybrid__op_add add;
            hybrid__op_scale scale;
            act = k % 3;
            for (t = 0; t < rows * n; t++) {
                double g = act == HYBRID__ACT_SILU ? exact_silu(x[t]) : act == HYBRID__ACT_GELU ? exact_gelu(x[t]) : exact_gelu_tanh(x[t]);
                exact[t] = k < 3 ? g * z[t] : k < 6 ? g : k == 6 ? (double)x[t] + z[t] : k == 7 ? x[t] * 1.7f : 1.5 * tanh(x[t] / 1.5);
            }
            for (t = 0; t < n_targets; t++) {
                hybrid__backend *be = targets[t].be;
                float *out = y[t != 0] = copy_floats(x, (size_t)(rows * n));
                op.act = (hybrid__act_kind)act; op.gate = out; op.up = k < 3 ? z : NULL; op.out = out;
                op.gate_stride = op.up_stride = op.out_stride = n; op.n_rows = rows; op.n = n;
                if (k < 6) hybrid__do_glu(be, &op);
                else if (k == 6) { add.a = add.out = out; add.b = z; add.n = (int64_t)rows * n; hybrid__do_add(be, &add); }
                else if (k == 7) { scale.x = scale.out = out; scale.factor = 1.7f; scale.n = (int64_t)rows * n; hybrid__do_scale(be, &scale); }
                else softcap_of(be, out, 1.5f, (int64_t)rows * n);
                if (t) { CHECK(first_difference(y[0], y[1], (size_t)(rows * n)) < 0, "%s case %d n %d", targets[t].name, k, n); free(y[1]); }
                else CHECK(distance(y[0], exact, (size_t)(rows * n)) < 2e-7, "case %d n %d: %g", k, n, distance(y[0], exact, (size_t)(rows * n)));
            }
            free(y[0]);
        }
        free(x); free(z); free(exact);
    }
}

static void test_embed(void)
{
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_F16, HYBRID_TYPE_BF16, HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K };
    int i, add, t, n_embd = 768, vocab = 9;
    TEST("embed");
    for (i = 0; i < (int)HYBRID__COUNT(types); i++) {
        size_t row = hybrid_type_row_bytes(types[i], (size_t)n_embd), j;
        uint8_t *data = (uint8_t *)malloc(row * (size_t)vocab);
        static const int32_t ids[4] = { 8, 0, 3, 8 };
        float decoded[768], *y[2];
        double *exact = (double *)malloc(sizeof(double) * (size_t)(4 * n_embd));
        hybrid__tensor table;
        memset(&table, 0, sizeof table);
        for (j = 0; j < row * (size_t)vocab; j++) data[j] = (uint8_t)(random_bits() >> 8 & 0x3B);    /* no exponent of these is large */
        table.type = types[i]; table.ne[0] = n_embd; table.ne[1] = vocab; table.nb[1] = row; table.data = data;
        for (add = 0; add < 2; add++) {
            float *start = random_floats((size_t)(4 * n_embd));
            for (j = 0; j < 4 * (size_t)n_embd; j++) {
                if (j % (size_t)n_embd == 0) CHECK(hybrid_dequantize(types[i], data + row * (size_t)ids[j / (size_t)n_embd], decoded, (size_t)n_embd) == HYBRID_OK, "decode");
                exact[j] = (double)decoded[j % (size_t)n_embd] * 3.5 + (add ? start[j] : 0);
            }
            for (t = 0; t < n_targets; t++) {
                hybrid__op_embed op;
                hybrid__batch batch;
                memset(&batch, 0, sizeof batch);
                batch.ids = ids; batch.n = 4;
                targets[t].be->ops->begin(targets[t].be, &batch);
                op.table = &table; op.index = HYBRID__INDEX_ID; op.scale = 3.5f;
                op.out = y[t != 0] = copy_floats(start, (size_t)(4 * n_embd));
                op.add = add ? op.out : NULL;
                hybrid__do_embed(targets[t].be, &op);
                if (t) { CHECK(first_difference(y[0], y[1], (size_t)(4 * n_embd)) < 0, "%s type %d", targets[t].name, (int)types[i]); free(y[1]); }
                else CHECK(distance(y[0], exact, (size_t)(4 * n_embd)) < 2e-7, "type %d add %d: %g", (int)types[i], add, distance(y[0], exact, (size_t)(4 * n_embd)));
            }
            free(y[0]); free(start);
        }
        free(data); free(exact);
    }
}

/* The seam's own top_k, which the GPU's is held to. */
static void test_top_k(void)
{
    enum { N = 1000, K = 20, ROWS = 2 };
    float *x = random_floats(ROWS * (N + 1)), values[ROWS * K], stats[ROWS * 2];
    int32_t ids[ROWS * K], r, i, j;
    hybrid__op_top_k op;
    TEST("top k");
    for (i = 0; i < ROWS * (N + 1); i++) x[i] = floorf(8 * x[i]);              /* many equal ones */
    op.logits = x; op.stride = N + 1; op.n_rows = ROWS; op.n = N; op.k = K; op.ids = ids; op.values = values; op.stats = stats;
    hybrid__do_top_k(targets[0].be, &op);
    for (r = 0; r < ROWS; r++) {
        const float *row = x + r * (N + 1);
        double sum = 0;
        for (i = 0; i < K; i++) {
            int32_t id = ids[r * K + i], before = 0;
            for (j = 0; j < N; j++) before += row[j] > row[id] || (row[j] == row[id] && j < id);
            CHECK(before == i && values[r * K + i] == row[id], "row %d, place %d: token %d has %d before it", r, i, id, before);
        }
        for (i = 0; i < N; i++) sum += exp((double)row[i] - values[r * K]);
        CHECK(stats[2 * r] == values[r * K] && fabs(stats[2 * r + 1] / sum - 1) < 1e-5, "sum %g, not %g", (double)stats[2 * r + 1], sum);
    }
    free(x);
}

/* ---- the cache and attention ---------------------------------------------------------------------------------------- */

typedef struct attention_case {
    hybrid_type type;
    int n_head, n_head_kv, dim_k, dim_v;
    int32_t window;
    float softcap;
    bool sinks;
    int n_seq, length[3], rows[3];         /* a sequence has length positions; its last rows are queries */
} attention_case;

typedef struct attention_data {
    hybrid__kv_view kv;
    size_t bytes_k, bytes_v;
    float *k, *v, *q, *sinks;              /* k, v of all sequences in order; q of the queries */
    int n_rows;
    hybrid__run all[3], last[3];           /* runs that store everything; runs of the queries */
    int32_t pages[3][32];
} attention_data;

static void attention_create(const attention_case *c, attention_data *d)
{
    int s, p, n_all = 0, n_pages = 0;
    memset(d, 0, sizeof *d);
    d->kv.type = c->type; d->kv.n_head_kv = c->n_head_kv; d->kv.head_dim_k = c->dim_k; d->kv.head_dim_v = c->dim_v;
    d->kv.row_bytes_k = hybrid_type_row_bytes(c->type, (size_t)c->dim_k); d->kv.row_bytes_v = hybrid_type_row_bytes(c->type, (size_t)c->dim_v);
    d->kv.page_bytes_k = d->kv.row_bytes_k * HYBRID__PAGE * (size_t)c->n_head_kv; d->kv.page_bytes_v = d->kv.row_bytes_v * HYBRID__PAGE * (size_t)c->n_head_kv;
    for (s = 0; s < c->n_seq; s++) {
        for (p = 0; p * HYBRID__PAGE < c->length[s]; p++) d->pages[s][p] = n_pages++;
        d->all[s].first_row = n_all; d->all[s].n_rows = c->length[s]; d->all[s].pages = d->pages[s];
        d->last[s].first_row = d->n_rows; d->last[s].n_rows = c->rows[s]; d->last[s].pos = c->length[s] - c->rows[s]; d->last[s].pages = d->pages[s];
        n_all += c->length[s];
        d->n_rows += c->rows[s];
    }
    for (s = 0; s < c->n_seq; s++) for (p = 0; p * HYBRID__PAGE < c->length[s]; p++) d->pages[s][p] = (d->pages[s][p] * 7 + 3) % (n_pages % 7 ? n_pages : n_pages + 1);
    d->bytes_k = d->kv.page_bytes_k * (size_t)(n_pages + 1); d->bytes_v = d->kv.page_bytes_v * (size_t)(n_pages + 1);
    d->kv.k = (char *)malloc(d->bytes_k); d->kv.v = (char *)malloc(d->bytes_v);
    memset(d->kv.k, 0xFF, d->bytes_k); memset(d->kv.v, 0xFF, d->bytes_v);      /* NaN wherever nothing is stored */
    d->k = random_floats((size_t)(n_all * c->n_head_kv * c->dim_k));
    d->v = random_floats((size_t)(n_all * c->n_head_kv * c->dim_v));
    d->q = random_floats((size_t)(d->n_rows * c->n_head * c->dim_k));
    d->sinks = random_floats((size_t)c->n_head);
}
static void attention_destroy(attention_data *d) { free(d->kv.k); free(d->kv.v); free(d->k); free(d->v); free(d->q); free(d->sinks); }

/* The ops that follow are about these runs. */
static void begin_runs(hybrid__backend *be, hybrid__batch *batch, const hybrid__run *runs, int n_runs)
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
    hybrid__op_kv_store op;
    hybrid__batch batch;
    begin_runs(t->be, &batch, d->all, c->n_seq);
    op.kv = &d->kv; op.k = d->k; op.k_stride = c->n_head_kv * c->dim_k; op.v = d->v; op.v_stride = c->n_head_kv * c->dim_v;
    hybrid__do_kv_store(t->be, &op);
}

static float attention_scale(const attention_case *c) { return 1.5f / sqrtf((float)c->dim_k); }
static void attention_run(hybrid__backend *be, const attention_case *c, const attention_data *d, const hybrid__run *runs, int n_runs, float *out)
{
    hybrid__op_attention op;
    hybrid__batch batch;
    begin_runs(be, &batch, runs, n_runs);
    op.kv = &d->kv; op.q = d->q; op.q_stride = c->n_head * c->dim_k; op.out = out; op.out_stride = c->n_head * c->dim_v;
    op.n_head = c->n_head; op.scale = attention_scale(c); op.softcap = c->softcap; op.window = c->window; op.sinks = c->sinks ? d->sinks : NULL;
    hybrid__do_attention(be, &op);
}

/* Softmax in the schoolbook way, over what is stored. */
static void attention_exact(const attention_case *c, const attention_data *d, double *out)
{
    int s, r, h, i;
    for (s = 0; s < c->n_seq; s++)
        for (r = 0; r < c->rows[s]; r++)
            for (h = 0; h < c->n_head; h++) {
                int row = d->last[s].first_row + r, pos = d->last[s].pos + r, p, first = c->window && pos >= c->window ? pos - c->window + 1 : 0, hk = h / (c->n_head / c->n_head_kv);
                double *o = out + (row * c->n_head + h) * c->dim_v, sum = c->sinks ? exp((double)d->sinks[h]) : 0;
                for (i = 0; i < c->dim_v; i++) o[i] = 0;
                for (p = first; p <= pos; p++) {
                    float k[256], v[256];
                    double score = 0;
                    size_t at = (size_t)(hk * 32 + p % 32);
                    hybrid_dequantize(c->type, d->kv.k + (size_t)d->pages[s][p / 32] * d->kv.page_bytes_k + at * d->kv.row_bytes_k, k, (size_t)c->dim_k);
                    hybrid_dequantize(c->type, d->kv.v + (size_t)d->pages[s][p / 32] * d->kv.page_bytes_v + at * d->kv.row_bytes_v, v, (size_t)c->dim_v);
                    for (i = 0; i < c->dim_k; i++) score += (double)k[i] * d->q[(row * c->n_head + h) * c->dim_k + i];
                    score *= attention_scale(c);
                    if (c->softcap > 0) score = c->softcap * tanh(score / c->softcap);
                    score = exp(score);
                    sum += score;
                    for (i = 0; i < c->dim_v; i++) o[i] += score * v[i];
                }
                for (i = 0; i < c->dim_v; i++) o[i] /= sum;
            }
}

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
    { HYBRID_TYPE_F32, 2, 1, 40, 24, 1, 0, false, 1, { 70 }, { 70 } },                           /* sees only itself; odd sizes */
    { HYBRID_TYPE_F16, 71, 1, 64, 64, 0, 0, false, 1, { 40 }, { 5 } },                           /* more heads than a tile holds */
    { HYBRID_TYPE_F16, 5, 5, 2, 6, 7, 0, true, 2, { 64, 63 }, { 64, 63 } },
    { HYBRID_TYPE_F32, 14, 2, 64, 64, 100, 0, false, 3, { 400, 90, 128 }, { 31, 30, 2 } }
};

static void test_attention(void)
{
    int i, t, s, r;
    for (i = 0; i < (int)HYBRID__COUNT(attention_cases); i++) {
        const attention_case *c = &attention_cases[i];
        attention_data d;
        char *k[2], *v[2];
        float *out[2];
        double *exact;
        size_t n;
        attention_create(c, &d);
        n = (size_t)(d.n_rows * c->n_head * c->dim_v);
        exact = (double *)malloc(n * sizeof *exact);
        TEST("kv_store");
        attention_store(&targets[0], c, &d);
        k[0] = d.kv.k; v[0] = d.kv.v;
        for (t = 1; t < n_targets; t++) {
            d.kv.k = k[1] = (char *)malloc(d.bytes_k); d.kv.v = v[1] = (char *)malloc(d.bytes_v);
            memset(k[1], 0xFF, d.bytes_k); memset(v[1], 0xFF, d.bytes_v);
            attention_store(&targets[t], c, &d);
            CHECK(!memcmp(k[0], k[1], d.bytes_k) && !memcmp(v[0], v[1], d.bytes_v), "%s case %d", targets[t].name, i);
            free(k[1]); free(v[1]);
        }
        d.kv.k = k[0]; d.kv.v = v[0];
        {
            float stored[256];
            double worst = 0, step = c->type == HYBRID_TYPE_F32 ? 0 : c->type == HYBRID_TYPE_F16 ? 1.0 / 1024 : 2.0 / 254 + 2.0 / 2048;
            for (r = 0; r < c->length[0]; r++) {
                int h = r % c->n_head_kv, j;
                hybrid_dequantize(c->type, d.kv.k + (size_t)d.pages[0][r / 32] * d.kv.page_bytes_k + (size_t)(h * 32 + r % 32) * d.kv.row_bytes_k, stored, (size_t)c->dim_k);
                for (j = 0; j < c->dim_k; j++) worst = fmax(worst, fabs((double)stored[j] - d.k[(r * c->n_head_kv + h) * c->dim_k + j]));
            }
            CHECK(worst <= step, "case %d: stored k is off by %g", i, worst);
        }
        TEST("attention");
        attention_exact(c, &d, exact);
        for (t = 0; t < n_targets; t++) {
            out[t != 0] = (float *)calloc(n, sizeof(float));
            attention_run(targets[t].be, c, &d, d.last, c->n_seq, out[t != 0]);
            if (t) CHECK(first_difference(out[0], out[1], n) < 0, "%s case %d: differs at %d", targets[t].name, i, (int)first_difference(out[0], out[1], n));
            else CHECK(distance(out[0], exact, n) < 3e-6, "case %d: %g", i, distance(out[0], exact, n));
            if (!t) continue;
            memset(out[1], 0, n * sizeof(float));                       /* the same rows, one at a time */
            for (s = 0; s < c->n_seq; s++)
                for (r = 0; r < c->rows[s]; r++) {
                    hybrid__run one = d.last[s];
                    one.first_row += r; one.pos += r; one.n_rows = 1;
                    attention_run(targets[t].be, c, &d, &one, 1, out[1]);
                }
            CHECK(first_difference(out[0], out[1], n) < 0, "%s case %d: one row at a time differs", targets[t].name, i);
            free(out[1]);
        }
        free(out[0]); free(exact);
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
            float *out = (float *)malloc(sizeof(float) * 120 * 256), *clean = (float *)malloc(sizeof(float) * 120 * 256);
            int wrong = 0;
            attention_create(&c, &d);
            attention_store(&targets[t], &c, &d);
            attention_run(targets[t].be, &c, &d, d.last, 1, clean);
            (in_v ? d.v : d.k)[50 * 128 + 3] = hybrid__bits_f32(0x7FC00000u);          /* position 50, kv head 0 */
            attention_store(&targets[t], &c, &d);
            attention_run(targets[t].be, &c, &d, d.last, 1, out);
            for (row = 0; row < 120; row++)
                for (i = 0; i < 256; i++) {
                    bool sees = row >= 50 && row < 90 && i < 128 && (!in_v || i % 64 == 3);
                    float y = out[row * 256 + i];
                    if (sees ? y == y : hybrid__f32_bits(y) != hybrid__f32_bits(clean[row * 256 + i])) wrong++;
                }
            CHECK(!wrong, "%s, NaN in %s: %d values are wrong", targets[t].name, in_v ? "v" : "k", wrong);
            attention_destroy(&d);
            free(out); free(clean);
        }
}

/* ---- float matrices ------------------------------------------------------------------------------------------------- */

static void test_matmul(void)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 48, 5, 1 }, { 64, 33, 2 }, { 100, 70, 7 }, { 896, 40, 13 }, { 2048, 17, 1 }, { 257, 129, 33 }, { 33, 64, 100 },
                                     { 1024, 96, 25 }, { 4864, 35, 12 }, { 32, 1, 3 }, { 8192, 33, 5 } };
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_F16, HYBRID_TYPE_BF16 };
    int i, j, t, u, variant;
    TEST("float matmul");
    for (i = 0; i < (int)HYBRID__COUNT(shapes); i++)
        for (u = 0; u < 3; u++) {
            int k = shapes[i][0], out = shapes[i][1], n = shapes[i][2], r;
            size_t row = hybrid_type_row_bytes(types[u], (size_t)k), values = (size_t)n * (size_t)out;
            float *w = random_floats((size_t)(k * out)), *x = random_floats((size_t)(n * k)), *bias = random_floats((size_t)out), *start = random_floats(values);
            char *data = (char *)malloc(row * (size_t)out);
            double *exact = (double *)malloc(sizeof(double) * values);
            hybrid__tensor tensor;
            float *y[2];
            memset(&tensor, 0, sizeof tensor);
            tensor.type = types[u]; tensor.ne[0] = k; tensor.ne[1] = out; tensor.nb[1] = row; tensor.data = data;
            CHECK(hybrid_quantize(types[u], w, data, (size_t)(k * out), NULL) == HYBRID_OK, "encode");
            CHECK(hybrid_dequantize(types[u], data, w, (size_t)(k * out)) == HYBRID_OK, "decode");
            for (variant = 0; variant < (i < 6 ? 3 : 1); variant++) {
                for (j = 0; j < n; j++)
                    for (r = 0; r < out; r++) {
                        double sum = variant ? bias[r] : 0;
                        int at;
                        for (at = 0; at < k; at++) sum += (double)w[r * k + at] * x[j * k + at];
                        exact[j * out + r] = sum + (variant == 2 ? start[j * out + r] : 0);
                    }
                for (t = 0; t < n_targets; t++) {
                    int threads;
                    for (threads = 1; threads <= (t == n_targets - 1 && i % 3 == 0 ? 3 : 1); threads++) {
                        hybrid__backend *be = create_backend(targets[t].name, threads, &tensor, 1);
                        hybrid__op_matmul op;
                        bool reference = t == 0 && threads == 1;
                        memset(&op, 0, sizeof op);
                        op.x = x; op.x_stride = k; op.n = n; op.n_out = 1;
                        op.out[0].w = &tensor; op.out[0].bias = variant ? bias : NULL; op.out[0].y_stride = op.out[0].add_stride = out;
                        op.out[0].y = y[!reference] = copy_floats(start, values);
                        op.out[0].add = variant == 2 ? op.out[0].y : NULL;
                        hybrid__do_matmul(be, &op);
                        if (reference) CHECK(distance(y[0], exact, values) < 2e-6, "type %d k %d: %g", (int)types[u], k, distance(y[0], exact, values));
                        else CHECK(first_difference(y[0], y[1], values) < 0, "%s, %d threads: type %d k %d out %d n %d variant %d differs at %d", targets[t].name, threads,
                            (int)types[u], k, out, n, variant, (int)first_difference(y[0], y[1], values));
                        if (!reference) free(y[1]);
                        be->ops->destroy(be);
                    }
                }
                free(y[0]);
            }
            free(w); free(x); free(bias); free(start); free(data); free(exact);
        }
}

/* One row of a batch = that row alone, whatever the batch. */
static void test_matmul_batch(void)
{
    enum { K = 1040, OUT = 70, N = 53 };
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_F16, HYBRID_TYPE_BF16 };
    int u, t, n, i;
    TEST("float matmul, batch = single row");
    for (u = 0; u < 3; u++)
        for (t = n_targets > 1; t < n_targets; t++) {
            float *w = random_floats(K * OUT), *x = random_floats(K * N), *y = (float *)calloc(N * OUT, sizeof(float)), *one = (float *)calloc(N * OUT, sizeof(float));
            char *data = (char *)malloc(K * OUT * 4);
            hybrid__tensor tensor;
            hybrid__backend *be;
            hybrid__op_matmul op;
            memset(&tensor, 0, sizeof tensor);
            memset(&op, 0, sizeof op);
            tensor.type = types[u]; tensor.ne[0] = K; tensor.ne[1] = OUT; tensor.nb[1] = hybrid_type_row_bytes(types[u], K); tensor.data = data;
            hybrid_quantize(types[u], w, data, K * OUT, NULL);
            x[3 * K + 1039] = hybrid__bits_f32(0x7FC00000u);                /* a NaN stays in its row */
            be = create_backend(targets[t].name, 2, &tensor, 1);
            op.x_stride = K; op.n_out = 1; op.out[0].w = &tensor; op.out[0].y_stride = OUT;
            for (i = 0; i < N; i++) { op.x = x + i * K; op.n = 1; op.out[0].y = one + i * OUT; hybrid__do_matmul(be, &op); }
            for (n = 2; n <= N; n += n < 20 ? 1 : 25) {
                op.x = x; op.n = n; op.out[0].y = y;
                hybrid__do_matmul(be, &op);
                CHECK(first_difference(one, y, (size_t)(n * OUT)) < 0, "%s type %d n %d", targets[t].name, (int)types[u], n);
            }
            CHECK(one[3 * OUT] != one[3 * OUT] && one[4 * OUT] == one[4 * OUT], "NaN");
            be->ops->destroy(be);
            free(w); free(x); free(y); free(one); free(data);
        }
}

/* Attention and rows on 1, 2 and 3 lanes. */
static void test_threads(void)
{
    int i, t, threads;
    TEST("threads");
    for (i = 0; i < (int)HYBRID__COUNT(attention_cases); i++) {
        const attention_case *c = &attention_cases[i];
        attention_data d;
        size_t n;
        float *a, *b;
        attention_create(c, &d);
        attention_store(&targets[0], c, &d);
        n = (size_t)(d.n_rows * c->n_head * c->dim_v);
        a = (float *)calloc(n, sizeof *a); b = (float *)calloc(n, sizeof *b);
        t = n_targets - 1;
        attention_run(targets[t].be, c, &d, d.last, c->n_seq, a);
        for (threads = 2; threads <= 3; threads++) {
            hybrid__backend *be = create_backend(targets[t].name, threads, NULL, 0);
            attention_run(be, c, &d, d.last, c->n_seq, b);
            CHECK(first_difference(a, b, n) < 0, "attention case %d, %d threads", i, threads);
            be->ops->destroy(be);
        }
        free(a); free(b);
        attention_destroy(&d);
    }
}

/* ---- mixtures of experts --------------------------------------------------------------------------------------------- */

/* The plain statement: rows of weights in double, the chosen experts by counting those before them. */
static void check_route(const hybrid__op_route *op)
{
    int r, s, i, e;
    for (r = 0; r < op->n; r++) {
        const float *x = op->logits + r * op->n_expert;
        double all = 0, chosen = 0, most = -HUGE_VAL;
        for (e = 0; e < op->n_expert; e++) if (x[e] > most) most = x[e];
        for (e = 0; e < op->n_expert; e++) all += x[e] == x[e] ? exp((double)x[e] - most) : 0;
        for (s = 0; s < op->n_used; s++) {
            const int id = op->ids[r * op->n_used + s];
            int before = 0;
            CHECK(id >= 0 && id < op->n_expert, "row %d, choice %d: expert %d", r, s, id);
            if (id < 0 || id >= op->n_expert) return;
            for (i = 0; i < op->n_expert; i++) {
                const bool here = x[id] == x[id], there = x[i] == x[i];
                before += there && here ? x[i] > x[id] || (x[i] == x[id] && i < id) : there ? x[i] > -HUGE_VALF || i < id : !here && i < id;
            }
            CHECK(before == s, "row %d, choice %d: expert %d has %d before it", r, s, id, before);
            chosen += x[id] == x[id] ? exp((double)x[id] - most) : 0;
        }
        for (s = 0; s < op->n_used; s++) {
            const double logit = x[op->ids[r * op->n_used + s]], one = logit == logit ? exp(logit - most) : 0, weight = op->weights[r * op->n_used + s];
            const double want = op->scale * (op->kind == HYBRID__ROUTE_SIGMOID ? (logit == logit ? 1 / (1 + exp(-logit)) : 0) : one / (op->norm ? chosen : all));
            if (all == 0 && op->kind == HYBRID__ROUTE_SOFTMAX) CHECK(weight != weight, "a row of NaN has weight %g", weight);
            else CHECK(fabs(weight - want) <= 2e-6 * want + 1e-37, "row %d, choice %d: weight %.9g, not %.9g", r, s, weight, want);
        }
    }
}

static void test_route(void)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 8, 2, 3 }, { 60, 4, 5 }, { 128, 8, 70 }, { 7, 7, 9 }, { 1024, 64, 2 }, { 5, 3, 1 }, { 33, 6, 40 } };    /* experts, used, rows */
    const float nan = hybrid__bits_f32(0x7FC00000u);
    int i, t, variant, e;
    TEST("route");
    for (i = 0; i < (int)HYBRID__COUNT(shapes); i++)
        for (variant = 0; variant < 6; variant++) {
            const size_t n_expert = (size_t)shapes[i][0], n_used = (size_t)shapes[i][1], n = (size_t)shapes[i][2];
            float *x = random_floats(n * n_expert), *weights[2];
            int32_t *ids[2];
            hybrid__op_route op;
            for (e = 0; e < (int)(n * n_expert); e++) {
                if (variant & 1) x[e] = floorf(2 * x[e]);                       /* many equal ones */
                if (variant >= 4 && random_int(0, 3) == 0) x[e] = nan;
            }
            if (variant == 5) for (e = 0; e < (int)n_expert; e++) x[e] = nan;    /* a whole row */
            op.kind = variant == 3 ? HYBRID__ROUTE_SIGMOID : HYBRID__ROUTE_SOFTMAX;
            op.logits = x; op.n = (int)n; op.n_expert = (int)n_expert; op.n_used = (int)n_used;
            op.norm = variant == 1 || variant == 4; op.scale = variant == 2 ? 2.5f : 1;
            for (t = 0; t < n_targets + 1; t++) {
                hybrid__backend *be = t < n_targets ? targets[t].be : create_backend(targets[n_targets - 1].name, 3, NULL, 0);
                op.ids = ids[t > 0] = (int32_t *)malloc(n * n_used * sizeof(int32_t));
                op.weights = weights[t > 0] = (float *)malloc(n * n_used * sizeof(float));
                hybrid__do_route(be, &op);
                if (!t) check_route(&op);
                else CHECK(!memcmp(ids[0], ids[1], n * n_used * sizeof(int32_t)) && first_difference(weights[0], weights[1], n * n_used) < 0, "%d of %d experts, variant %d, target %d", (int)n_used, (int)n_expert, variant, t);
                if (t) { free(ids[1]); free(weights[1]); }
                if (t == n_targets) be->ops->destroy(be);
            }
            free(x); free(ids[0]); free(weights[0]);
        }
}

static void test_combine(void)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 3, 2, 100 }, { 1, 8, 2048 }, { 2, 64, 300 }, { 5, 3, 5000 }, { 1, 1, 9000 } };      /* rows, used, width */
    int i, t, r, s, c;
    TEST("combine");
    for (i = 0; i < (int)HYBRID__COUNT(shapes); i++) {
        const int n = shapes[i][0], n_used = shapes[i][1], width = shapes[i][2];
        const size_t values = (size_t)n * (size_t)width;
        float *x = random_floats(values * (size_t)n_used), *weights = random_floats((size_t)(n * n_used)), *start = random_floats(values), *want = copy_floats(start, values);
        hybrid__op_combine op;
        for (r = 0; r < n; r++)
            for (s = 0; s < n_used; s++)
                for (c = 0; c < width; c++) {
                    const volatile float part = x[(r * n_used + s) * width + c] * weights[r * n_used + s];      /* not fused */
                    want[r * width + c] = want[r * width + c] + part;
                }
        op.x = x; op.weights = weights; op.n = n; op.n_used = n_used; op.n_embd = width;
        for (t = 0; t < n_targets + 1; t++) {
            hybrid__backend *be = t < n_targets ? targets[t].be : create_backend(targets[n_targets - 1].name, 3, NULL, 0);
            op.add = op.out = copy_floats(start, values);
            hybrid__do_combine(be, &op);
            CHECK(first_difference(op.out, want, values) < 0, "%d x %d x %d, target %d: value %d", n, n_used, width, t, (int)first_difference(op.out, want, values));
            free(op.out);
            if (t == n_targets) be->ops->destroy(be);
        }
        free(x); free(weights); free(start); free(want);
    }
}

/* Matrices of n_expert experts in a type, and what they decode to. */
typedef struct expert_matrices { hybrid__tensor w; float *values; char *data; } expert_matrices;
static void experts_create(expert_matrices *m, hybrid_type type, int k, int out, int n_expert)
{
    const size_t row = hybrid_type_row_bytes(type, (size_t)k), n = (size_t)k * (size_t)out * (size_t)n_expert;
    memset(m, 0, sizeof *m);
    m->values = random_floats(n);
    m->data = (char *)malloc(row * (size_t)out * (size_t)n_expert);
    CHECK(hybrid_quantize(type, m->values, m->data, n, NULL) == HYBRID_OK && hybrid_dequantize(type, m->data, m->values, n) == HYBRID_OK, "encode");
    m->w.type = type;
    m->w.ne[0] = k; m->w.ne[1] = out; m->w.ne[2] = n_expert; m->w.ne[3] = 1;
    m->w.nb[1] = row; m->w.nb[2] = row * (size_t)out; m->w.nb[3] = m->w.nb[2] * (size_t)n_expert;
    m->w.data = m->data;
}
static void experts_destroy(expert_matrices *m) { free(m->values); free(m->data); }

/* A back end with room for exactly this. */
static hybrid__backend *experts_backend(const char *isa, int threads, const expert_matrices *m, int n_w, int n, int n_used)
{
    hybrid_runtime_desc desc;
    hybrid__limits limits;
    hybrid_runtime *rt = NULL;
    hybrid__backend *be = NULL;
    int i;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = isa; desc.n_threads = threads;
    limits.n_rows = n; limits.n_expert_used = n_used;
    CHECK(!hybrid_runtime_create(&desc, &rt, NULL), "runtime %s", isa);
    for (i = 0; i < n_w; i++) CHECK(hybrid__cpu_limits_matrix(rt, &limits, &m[i].w), "type %d", (int)m[i].w.type);
    CHECK(!hybrid__cpu_backend_create(rt, &limits, &be, NULL), "back end %s", isa);
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
            for (i = 0; i < s; i++) if (row[i] == row[s]) { row[s] = (row[s] + 1) % n_expert; i = -1; }
        }
}

/* What matmul makes of each choice alone: the same bits are asked of experts. And near is the product in double. */
static void experts_one_by_one(const hybrid__op_experts *op, const expert_matrices *m, int o, float *want)
{
    const int k = (int)m[o].w.ne[0], out = (int)m[o].w.ne[1];
    hybrid__backend *be;
    hybrid__op_matmul mm;
    hybrid__tensor w = m[o].w;
    double worst = 0, most = 0, sum;
    int c, r, i;
    w.ne[2] = 1;
    be = create_backend("generic", 1, &w, 1);
    for (c = 0; c < op->n * op->n_used; c++) {
        const float *x = op->x + (op->each_own ? c : c / op->n_used) * op->x_stride, *values = m[o].values + (size_t)op->ids[c] * (size_t)k * (size_t)out;
        memset(&mm, 0, sizeof mm);
        w.data = m[o].data + (size_t)op->ids[c] * m[o].w.nb[2];
        mm.x = x; mm.x_stride = k; mm.n = mm.n_out = 1;
        mm.out[0].w = &w; mm.out[0].y = want + (size_t)c * (size_t)out; mm.out[0].y_stride = out;
        hybrid__do_matmul(be, &mm);
        for (r = 0; r < out; r++) {
            for (sum = 0, i = 0; i < k; i++) sum += (double)values[r * k + i] * x[i];
            worst = HYBRID__MAX(worst, fabs(sum - want[c * out + r]));
            most = HYBRID__MAX(most, fabs(sum));
        }
    }
    CHECK(worst <= (hybrid_type_block_size(m[o].w.type) > 1 ? 2e-2 : 2e-6) * most, "%s: %g of %g", hybrid_type_name(m[o].w.type), worst, most);
    be->ops->destroy(be);
}

static void test_experts(void)
{
    static const hybrid_type types[][2] = { { HYBRID_TYPE_F32, HYBRID_TYPE_F32 }, { HYBRID_TYPE_F16, HYBRID_TYPE_BF16 }, { HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q8_0 },
        { HYBRID_TYPE_Q4_0, HYBRID_TYPE_F32 }, { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K }, { HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q8_0 } };
    static const struct { int out, n_expert, n, n_used; bool each_own, crowded; } cases[] = {
        { 40, 8, 1, 2, false, false }, { 33, 8, 1, 8, true, false }, { 70, 5, 3, 2, false, true }, { 130, 16, 45, 4, false, true }, { 65, 4, 30, 3, true, true },
        { 1, 2, 7, 1, false, false }, { 17, 64, 9, 6, true, false }, { 96, 3, 20, 1, true, true } };
    int u, i, t, o;
    TEST("experts");
    for (u = 0; u < (int)HYBRID__COUNT(types); u++)
        for (i = 0; i < (int)HYBRID__COUNT(cases); i++) {
            const int k = u == 0 ? 39 : 256 + (u < 4 ? 32 : 0), out = cases[i].out, n_choices = cases[i].n * cases[i].n_used, y_stride = out + 3;
            const size_t values = (size_t)n_choices * (size_t)y_stride;
            expert_matrices m[2];
            int32_t *ids = (int32_t *)malloc((size_t)n_choices * sizeof *ids);
            float *x = random_floats((size_t)n_choices * (size_t)(k + 5)), *want[2];
            hybrid__op_experts op;
            memset(&op, 0, sizeof op);
            choose_experts(ids, cases[i].n, cases[i].n_used, cases[i].n_expert, cases[i].crowded);
            op.x = x; op.x_stride = k + 5; op.ids = ids; op.n = cases[i].n; op.n_used = cases[i].n_used; op.each_own = cases[i].each_own;
            op.n_out = 1 + (i + u) % 2;
            for (o = 0; o < 2; o++) {
                experts_create(&m[o], types[u][o], k, out + o, cases[i].n_expert);
                want[o] = (float *)malloc((size_t)n_choices * (size_t)(out + o) * sizeof(float));
                experts_one_by_one(&op, m, o, want[o]);
            }
            for (t = 0; t < n_targets * 2; t++) {
                hybrid__backend *be = experts_backend(targets[t / 2].name, t % 2 ? 3 : 1, m, op.n_out, op.n, op.n_used);
                for (o = 0; o < op.n_out; o++) {
                    op.out[o].w = &m[o].w; op.out[o].y_stride = y_stride;
                    op.out[o].y = (float *)calloc(values, sizeof(float));
                }
                hybrid__do_experts(be, &op);
                for (o = 0; o < op.n_out; o++) {
                    int c, wrong = 0, beyond = 0, a;
                    for (c = 0; c < n_choices; c++) {
                        wrong += first_difference(op.out[o].y + c * y_stride, want[o] + c * (out + o), (size_t)(out + o)) >= 0;
                        for (a = out + o; a < y_stride; a++) beyond += op.out[o].y[c * y_stride + a] != 0;
                    }
                    CHECK(!wrong && !beyond, "%s, %d threads, types %d, case %d, matrix %d: %d of %d rows differ, %d values beyond them", targets[t / 2].name, t % 2 ? 3 : 1, u, i, o, wrong, n_choices, beyond);
                    free(op.out[o].y);
                }
                be->ops->destroy(be);
            }
            for (o = 0; o < 2; o++) { experts_destroy(&m[o]); free(want[o]); }
            free(ids); free(x);
        }
}

/* ---- what PyTorch says ---------------------------------------------------------------------------------------------- */

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
    free(ours); free(theirs); free(exact);
    return d;
}

static void oracle_rope(hybrid__backend *be)
{
    enum { N = 5, HEADS = 2, DIM = 32, ALL = N * HEADS * DIM };
    float *x = oracle_floats("rope.x"), *pos = oracle_floats("rope.pos"), table[N * DIM], *y;
    hybrid__op_rope op;
    double d;
    int r, j, kind;
    for (r = 0; r < N; r++)
        for (j = 0; j < DIM / 2; j++) {
            double s, c;
            hybrid__sincos((double)pos[r] * pow(10000.0, -2.0 * j / DIM), &s, &c);
            table[r * DIM + 2 * j] = (float)c;
            table[r * DIM + 2 * j + 1] = (float)s;
        }
    for (kind = 0; kind < 2; kind++) {
        y = copy_floats(x, ALL);
        op.kind = kind ? HYBRID__ROPE_NEOX : HYBRID__ROPE_NORM; op.x = op.out = y; op.x_stride = op.out_stride = HEADS * DIM; op.n = N; op.n_head = HEADS; op.head_dim = op.n_rot = DIM; op.table = table;
        hybrid__do_rope(be, &op);
        d = oracle_distance(y, kind ? "rope.neox" : "rope.norm", ALL);
        CHECK(d < 2e-7, "kind %d: %g", kind, d);
    }
    free(x); free(pos);
}

static void oracle_rows(hybrid__backend *be)
{
    static const char *const names[3] = { "glu.silu", "glu.gelu_tanh", "glu.gelu" };
    float *x = oracle_floats("norm.x"), *w = oracle_floats("norm.w"), *b = oracle_floats("norm.b"), *gate = oracle_floats("glu.gate"), *up = oracle_floats("glu.up"), *y;
    double d;
    int kind;
    for (kind = 0; kind < 2; kind++) {
        hybrid__op_norm op;
        op.kind = kind ? HYBRID__NORM_LAYER : HYBRID__NORM_RMS; op.x = x; op.out = y = copy_floats(x, 300); op.x_stride = op.out_stride = op.n = 100; op.n_rows = 3; op.n_group = 1;
        op.w = w; op.b = kind ? b : NULL; op.eps = 1e-5f;
        hybrid__do_norm(be, &op);
        d = oracle_distance(y, kind ? "norm.layer" : "norm.rms", 300);
        CHECK(d < 3e-7, "norm %d: %g", kind, d);
    }
    for (kind = 0; kind < 3; kind++) {
        hybrid__op_glu op;
        op.act = (hybrid__act_kind)kind; op.gate = gate; op.up = up; op.out = y = copy_floats(gate, 500); op.gate_stride = op.up_stride = op.out_stride = op.n = 500; op.n_rows = 1;
        hybrid__do_glu(be, &op);
        d = oracle_distance(y, names[kind], 500);
        CHECK(d < 1e-7, "%s: %g", names[kind], d);
    }
    free(x); free(w); free(b); free(gate); free(up);
}

static void oracle_attention(const target *t)
{
    static const attention_case cases[2] = { { HYBRID_TYPE_F32, 4, 2, 16, 16, 20, 2.0f, false, 1, { 40 }, { 40 } }, { HYBRID_TYPE_F32, 4, 2, 16, 16, 20, 0, true, 1, { 40 }, { 40 } } };
    static const char *const names[2] = { "gemma2", "gpt_oss" };
    int i, j;
    for (i = 0; i < 2; i++) {
        attention_data d;
        hybrid__op_attention op;
        hybrid__batch batch;
        float *out = (float *)malloc(sizeof(float) * 40 * 64), *part[4];
        char name[64];
        double far;
        attention_create(&cases[i], &d);
        for (j = 0; j < 3; j++) { snprintf(name, sizeof name, "attention.%s.%c", names[i], "qkv"[j]); part[j] = oracle_floats(name); }
        part[3] = oracle_floats("attention.sinks");
        memcpy(d.k, part[1], sizeof(float) * 40 * 32);
        memcpy(d.v, part[2], sizeof(float) * 40 * 32);
        attention_store(t, &cases[i], &d);
        begin_runs(t->be, &batch, d.last, 1);
        op.kv = &d.kv; op.q = part[0]; op.out = out; op.q_stride = op.out_stride = 64; op.n_head = 4; op.scale = 0.25f;
        op.softcap = cases[i].softcap; op.window = 20; op.sinks = cases[i].sinks ? part[3] : NULL;
        hybrid__do_attention(t->be, &op);
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
    if (hybrid_gguf_open(NULL, &source, &oracle, &e)) { CHECK(0, "%s (run from the repository's root)", e.message); return; }
    for (t = 0; t < n_targets; t++) {
        oracle_rope(targets[t].be);
        oracle_rows(targets[t].be);
        oracle_attention(&targets[t]);
    }
    hybrid_gguf_destroy(oracle);
}

int main(int argc, char **argv)
{
    uint32_t step = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : getenv("HYBRID_SANITIZER") ? 65521 : 4093;      /* 1: all floats, minutes */
    int i;
    create_targets();
    test_math(step);
    test_math_targets(step);
    test_norm();
    test_rope();
    test_values();
    test_embed();
    test_top_k();
    test_attention();
    test_attention_nan();
    test_matmul();
    test_matmul_batch();
    test_route();
    test_combine();
    test_experts();
    test_threads();
    test_oracle();
    for (i = 0; i < n_targets; i++) targets[i].be->ops->destroy(targets[i].be);
    return test_end();
}
