/* The parts of the predictor that know no model: what it sees of a run, the law of the loss, calibration, the monitor,
 * the bandit and the phases. References: make_features.py (numpy), and a run of examples/train that was recorded
 * (data/run-loss.txt: loss and gradient norm of 800 steps). */
#include "private.h"
#include <math.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const char *oracle_file(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "tests/oracle/data/%s", name);
    return path;
}

/* Independent numbers from the normal distribution; the same in every run. */
typedef struct dice {
    uint64_t seed, n;
} dice;
static double uniform(dice *d) { return hyb_random_uniform(d->seed, 77, d->n++); }
static inline double normal(dice *d)
{
    const double a = 1 - uniform(d);
    return sqrt(-2 * log(a)) * cos(6.283185307179586 * uniform(d));
}

/* What a part remembers is written and read back into another of its kind, whose bytes were 0x55; cut off, it is
 * refused. The numbers of both are equal then. */
#define WALK(type, part) \
    do { \
        type *other = (type *)malloc(sizeof(type)); \
        hyb_byte_walk w; \
        unsigned char *bytes; \
        memset(&w, 0, sizeof w); \
        hyb_##type##_as(&(part), &w); \
        bytes = (unsigned char *)malloc(w.n); \
        w.size = w.n; \
        w.n = 0; \
        w.at = bytes; \
        hyb_##type##_as(&(part), &w); \
        CHECK(!w.failed && w.n == w.size, "writing"); \
        memset(other, 0x55, sizeof *other); \
        w.n = 0; \
        w.reads = true; \
        hyb_##type##_as(other, &w); \
        CHECK(!w.failed && w.n == w.size, "reading"); \
        CHECK(!memcmp(other, &(part), sizeof *other), "what was read is what was written"); \
        w.n = 0; \
        w.size--; \
        hyb_##type##_as(other, &w); \
        CHECK(w.failed, "a byte too few"); \
        free(bytes); \
        free(other); \
    } while (0)
#define hyb_hyb_features_as hyb_features_walk

/* ---- features ---------------------------------------------------------------------------------------------------- */

/* make_features.py: noise, sight, geometry */
static double noise(double i) { return sin(i * 12.9898) * cos(i * 78.233 + 1); }

static hyb_sight sight(int t)
{
    hyb_sight s;
    memset(&s, 0, sizeof s);
    s.loss = 1.5 + 4 * exp(-t / 120.0) + 0.2 * noise(t);
    s.grad_norm = 0.8 + 2 * exp(-t / 60.0) + 0.3 * noise(t + 0.5);
    s.rate = 1e-3 * (t < 49 ? (t + 1) / 50.0 : 1) * (t >= 200 ? 0.5 : 1);
    s.peak_rate = 1e-3;
    s.noise_scale = 900 + 300 * noise(t + 0.25);
    s.batch_tokens = 768;
    s.budget = t / 400.0;
    s.cos_moment = 0.4 + 0.1 * noise(t + 0.75);
    s.cos_gradient = 0.1 * noise(t + 0.125);
    s.accumulation = 0.25;
    s.clipped = t % 3 == 0;
    s.phase = t < 50 ? 0 : 1 + t / 20 % 3;
    s.phase_step = t % 20;
    s.since_predict = t % 60;
    s.consecutive = t / 20 % 5;
    return s;
}

static hyb_geometry geometry(int k)
{
    hyb_geometry g;
    int i;
    memset(&g, 0, sizeof g);
    g.weights = 50 + 0.5 * k;
    g.d = 1.2 + 0.3 * noise(k);
    g.b = 2 + 0.4 * noise(k + 0.5);
    g.r = 0.9 + 0.2 * noise(k + 0.25);
    g.step = 0.1 + 0.02 * noise(k + 0.75);
    g.path = 3 + 0.2 * noise(k + 0.3);
    g.cos_prev = k < 2 ? 0 : 0.1 * noise(k + 0.6);
    g.cos_b = k < 2 ? 0 : 0.2 * noise(k + 0.7);
    g.cos_s = k < 2 ? 0 : 0.3 * noise(k + 0.8);
    g.hindsight = k < 3 ? 0 : 0.35 + 0.2 * noise(k + 0.9);
    g.unexplained = 0.9 + 0.05 * noise(k + 0.15);
    for (i = 0; i < HYB_N_GROUPS; i++) g.by_group[i] = k < 3 ? 0 : 0.3 * noise(k + 0.01 * i);
    g.m_mean = 1e-3 * (1 + 0.2 * noise(k));
    g.m_std = 2e-3;
    g.v_mean = 3e-3 * (1 + 0.1 * noise(k + 0.35));
    g.v_std = 4e-3;
    g.bias2 = 1 - pow(0.95, 20 * k);
    g.law_residual = k < 4 ? 0 : 0.05 * noise(k + 0.45);
    g.law_slope = k < 4 ? 0 : -0.02 + 0.01 * noise(k + 0.55);
    return g;
}

/* The numbers of window k of the made-up run; scale: of its losses. */
static void made_up(hyb_features *f, int k, double scale, float *x)
{
    hyb_geometry g = geometry(k);
    int t;
    for (t = 20 * (k - 1); t < 20 * k; t++) {
        hyb_sight s = sight(t);
        s.loss *= scale;
        hyb_features_step(f, &s);
    }
    if (k >= 2) hyb_features_judge(f, k % 3 != 0, 2 * noise(k + 0.65), 5 * noise(k + 0.85));
    hyb_features_window(f, &g, x);
}

static void test_features_golden(void)
{
    char *text = read_file(oracle_file("features.txt"), NULL), *at = text;
    hyb_features f;
    float x[HYB_N_FEATURES];
    int k = 0, i, shown = 0;
    TEST("features: make_features.py");
    CHECK(text != NULL, "tests/oracle/data/features.txt");
    if (!text) return;
    hyb_features_init(&f, log(512.0));
    while (*at) {
        const int want = (int)strtol(at, &at, 10);
        while (k < want) made_up(&f, ++k, 1, x);
        for (i = 0; i < HYB_N_FEATURES; i++) {
            const double expected = strtod(at, &at);
            CHECK(fabs((double)x[i] - expected) < 2e-5, "window %d, number %d: %.7g, not %.7g", k, i, (double)x[i],
                  expected);
        }
        shown++;
        while (*at == '\n') at++;
    }
    CHECK(shown == 4, "%d windows", shown);
    WALK(hyb_features, f);
    free(text);
}

/* Every loss a thousand times as large: only its distance from guessing is another, before it is standardised. */
static void test_features_scale(void)
{
    hyb_features one, other;
    hyb_geometry g = geometry(6);
    float x[HYB_N_FEATURES];
    double a[HYB_N_FEATURES], b[HYB_N_FEATURES];
    int k, i;
    TEST("features: scale of the loss");
    hyb_features_init(&one, log(512.0));
    hyb_features_init(&other, log(512.0));
    for (k = 1; k <= 6; k++) {
        made_up(&one, k, 1, x);
        made_up(&other, k, 1000, x);
    }
    hyb_features_raw(&one, &g, a);
    hyb_features_raw(&other, &g, b);
    for (i = 0; i < HYB_N_FEATURES; i++) {
        const double expected = i == 15 ? a[i] + log(1000.0) : a[i];
        CHECK(fabs(b[i] - expected) < 1e-9 * (1 + fabs(expected)), "number %d: %g and %g", i, a[i], b[i]);
    }
}

static void all_finite(const char *when, const float *x)
{
    int i;
    for (i = 0; i < HYB_N_FEATURES; i++) CHECK(x[i] >= -5 && x[i] <= 5, "%s: number %d is %g", when, i, (double)x[i]);
}

/* Nothing seen, one step seen, the same step again and again, steps that are no numbers, the largest numbers. */
static void test_features_hostile(void)
{
    static const double numbers[] = { 0, -1, 1e-320, 1e308, -1e308, HUGE_VAL, -HUGE_VAL, 2 };
    hyb_features f;
    hyb_sight s;
    hyb_geometry g;
    float x[HYB_N_FEATURES];
    int i, j;
    TEST("features: hostile");
    hyb_features_init(&f, 0);
    memset(&g, 0, sizeof g);
    memset(&s, 0, sizeof s);
    hyb_features_window(&f, &g, x);
    all_finite("nothing", x);
    for (i = 0; i < 300; i++) {
        hyb_features_step(&f, &s);
        if (i % 7 == 0) hyb_features_window(&f, &g, x);
        all_finite("zeros", x);
    }
    s = sight(3);
    g = geometry(3);
    for (i = 0; i < 300; i++) hyb_features_step(&f, &s);
    for (i = 0; i < 30; i++) hyb_features_window(&f, &g, x);
    all_finite("the same", x);
    for (i = 0; i < 900; i++) {
        const double n = i % 9 == 8 ? sqrt(-1.0) : numbers[i % 9];
        s = sight(i);
        g = geometry(i);
        for (j = 0; j < 10; j++) ((double *)&s)[(i + j) % 10] = n;
        s.loss = i % 2 ? n : 2.5;
        for (j = 0; j < (int)(sizeof g / sizeof(double)); j += 1 + i % 3) ((double *)&g)[j] = n;
        hyb_features_step(&f, &s);
        hyb_features_judge(&f, i & 1, n, n);
        hyb_features_window(&f, &g, x);
        all_finite("no numbers", x);
    }
}

/* Each thing that is seen is seen by the number that stands for it. */
static void test_features_effect(void)
{
    static const double gone[] = { 0 };
    hyb_features f;
    hyb_geometry g = geometry(8), other;
    double a[HYB_N_FEATURES], b[HYB_N_FEATURES];
    float x[HYB_N_FEATURES];
    const int n = (int)(sizeof g / sizeof(double));
    int k, i, field;
    TEST("features: effect");
    hyb_features_init(&f, log(512.0));
    for (k = 1; k <= 8; k++) made_up(&f, k, 1, x);
    hyb_features_raw(&f, &g, a);
    for (i = 0; i < HYB_N_FEATURES; i++) CHECK(hyb_is_finite(a[i]), "number %d is known", i);
    for (field = 0; field < n; field++) {
        int changed = 0;
        other = g;
        memcpy((double *)&other + field, gone, sizeof(double));
        hyb_features_raw(&f, &other, b);
        for (i = 0; i < HYB_N_FEATURES; i++) changed += a[i] != b[i];
        CHECK(changed > 0, "field %d of the geometry changes nothing", field);
    }
}

int main(void)
{
    test_features_golden();
    test_features_scale();
    test_features_hostile();
    test_features_effect();
    return test_end();
}
