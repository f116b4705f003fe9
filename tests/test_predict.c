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

/* What a part remembers is written, and read back into one that is new; both are equal then. Cut off, it is
 * refused. */
#define WALK(type, part, fresh) \
    do { \
        type *other = (type *)malloc(sizeof(type)); \
        hyb_byte_walk w; \
        unsigned char *bytes; \
        memset(&w, 0, sizeof w); \
        type##_walk(&(part), &w); \
        bytes = (unsigned char *)malloc(w.n); \
        w.size = w.n; \
        w.n = 0; \
        w.at = bytes; \
        type##_walk(&(part), &w); \
        CHECK(!w.failed && w.n == w.size, "writing"); \
        *other = fresh; \
        CHECK(memcmp(other, &(part), sizeof *other), "there is something to remember"); \
        w.n = 0; \
        w.reads = true; \
        type##_walk(other, &w); \
        CHECK(!w.failed && w.n == w.size, "reading"); \
        CHECK(!memcmp(other, &(part), sizeof *other), "what was read is what was written"); \
        w.n = 0; \
        w.size--; \
        type##_walk(other, &w); \
        CHECK(w.failed, "a byte too few"); \
        free(bytes); \
        free(other); \
    } while (0)

/* The run of examples/train that was recorded: --layers 2 --width 64 --vocab 512 --warmup 50 --rate 0.003 on
 * tinyshakespeare. */
enum { RUN = 800 };
static double run_loss[RUN], run_grad[RUN];
static double run_rate(int t)
{
    if (t < 50) return 3e-3 * (t + 1) / 51;
    return 3e-4 + 2.7e-3 * 0.5 * (1 + cos(3.14159265358979 * (t - 50) / 750));
}

static void read_run(void)
{
    char *text = read_file(oracle_file("run-loss.txt"), NULL), *at = text;
    int i;
    TEST("a recorded run");
    CHECK(text != NULL, "tests/oracle/data/run-loss.txt");
    for (i = 0; text && i < RUN; i++) {
        run_loss[i] = strtod(at, &at);
        run_grad[i] = strtod(at, &at);
    }
    CHECK(run_loss[RUN - 1] > 3 && run_loss[RUN - 1] < 4 && run_grad[RUN - 1] > 0, "it is read");
    free(text);
}

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
    hyb_features f, fresh;
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
    hyb_features_init(&fresh, log(512.0));
    WALK(hyb_features, f, fresh);
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
    CHECK(hyb_is_finite(f.fast) && hyb_is_finite(f.slow) && hyb_is_finite(f.grad_mean), "averages are still numbers");
    CHECK(hyb_clamp(sqrt(-1.0), 1, 2) == 1 && hyb_clamp(3, 1, 2) == 2 && hyb_clamp(0, 1, 2) == 1, "clamp");
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

/* ---- the law of the loss ----------------------------------------------------------------------------------------- */

/* Windows of 20 steps at a rate, which follow a law; scale: of the rates. */
static void planted(hyb_law *law, int n, double least, double a, double alpha, double sigma, double scale, dice *d)
{
    const double rate = 1e-3 * scale, s0 = 30.5 * rate; /* the mean of steps 21 to 40 */
    int i, t = 0;
    hyb_law_init(law);
    for (i = 0; i < n; i++) {
        for (int k = 0; k < 20; k++) {
            const double s = ++t * rate;
            hyb_law_step(law, (least + a * pow((s + s0) / s0, -alpha)) * exp(sigma * normal(d)), rate);
        }
        hyb_law_window(law);
    }
}

static void test_law_planted(void)
{
    static const double laws[][3] = { { 2, 4, 0.5 }, { 0.5, 5, 0.3 }, { 3, 2, 1.1 }, { 0.02, 8, 0.8 } };
    dice d = { 7, 0 };
    int i, k;
    TEST("law: planted");
    for (i = 0; i < COUNT(laws); i++)
        for (k = 0; k < 2; k++) {
            hyb_law law;
            double s, expected, error = 0;
            planted(&law, 200, laws[i][0], laws[i][1], laws[i][2], 0, k ? 1000 : 1, &d);
            CHECK(law.fitted && fabs(law.floor - laws[i][0]) < 0.02 * laws[i][0] + 0.01, "%d: floor %g, not %g", i,
                  law.floor, laws[i][0]);
            CHECK(fabs(law.a / laws[i][1] - 1) < 0.03, "%d: A %g, not %g", i, law.a, laws[i][1]);
            CHECK(fabs(law.alpha / laws[i][2] - 1) < 0.03, "%d: alpha %g, not %g", i, law.alpha, laws[i][2]);
            planted(&law, 200, laws[i][0], laws[i][1], laws[i][2], 0.1, k ? 1000 : 1, &d);
            s = 2 * law.total;
            expected = log(laws[i][0] + laws[i][1] * pow((s + law.s0) / law.s0, -laws[i][2]));
            error = hyb_law_value(&law, s) - expected;
            CHECK(fabs(error) < 0.08, "%d, noise: %g off at twice the length", i, error);
            CHECK(law.sigma > 0.015 && law.sigma < 0.03, "%d: deviation %g, not 0.022", i, law.sigma);
            CHECK(hyb_law_slope(&law, s) < 0, "%d: it falls", i);
            CHECK(fabs((hyb_law_value(&law, s * 1.0001) - hyb_law_value(&law, s * 0.9999)) / (2e-4 * s) /
                           hyb_law_slope(&law, s) -
                       1) < 1e-4,
                  "%d: slope", i);
        }
}

/* How far the recorded run is from what is said of it eight windows before. */
static void test_law_run(void)
{
    hyb_law law, fresh;
    double mean[RUN / 20], s[RUN / 20], total = 0, by_law = 0, by_last = 0, inside = 0;
    int i, k, n = 0;
    TEST("law: the recorded run");
    for (i = 0; i < RUN / 20; i++) {
        mean[i] = s[i] = 0;
        for (k = 20 * i; k < 20 * i + 20; k++) {
            total += run_rate(k);
            mean[i] += log(run_loss[k]) / 20;
            s[i] += total / 20;
        }
    }
    hyb_law_init(&law);
    for (i = 0; i < RUN / 20; i++) {
        for (k = 20 * i; k < 20 * i + 20; k++) hyb_law_step(&law, run_loss[k], run_rate(k));
        hyb_law_window(&law);
        if (i < 8 || i + 8 >= RUN / 20) continue;
        by_law += fabs(mean[i + 8] - hyb_law_ahead(&law, s[i + 8]));
        by_last += fabs(mean[i + 8] - mean[i]);
        inside += fabs(mean[i + 1] - hyb_law_ahead(&law, s[i + 1])) < 2 * law.sigma;
        n++;
    }
    CHECK(by_law < 0.5 * by_last, "eight windows ahead: the law %.4f, the last value %.4f", by_law / n, by_last / n);
    CHECK(inside >= 0.7 * n, "one window ahead: %g of %d within two deviations", inside, n);
    hyb_law_init(&fresh);
    WALK(hyb_law, law, fresh);
}

/* Whatever goes in, what comes out are numbers, and not wild ones. */
static void test_law_hostile(void)
{
    dice d = { 8, 0 };
    int kind, i, k;
    TEST("law: hostile");
    for (kind = 0; kind < 12; kind++) {
        hyb_law law;
        double low = 1e9, high = -1e9;
        hyb_law_init(&law);
        CHECK(hyb_law_value(&law, 1) == 0 && hyb_law_slope(&law, 1) == 0, "nothing seen");
        hyb_law_window(&law);
        for (i = 0; i < 400; i++) {
            for (k = 0; k < 5; k++) {
                double loss = 2 + 0.1 * normal(&d), rate = 1e-3;
                if (kind == 0) rate = 0;
                if (kind == 1) loss = 3;
                if (kind == 2) loss = i + 1;                     /* it rises */
                if (kind == 3) loss = i % 10 == 0 ? 1e30 : loss; /* spikes */
                if (kind == 4) loss = 0;
                if (kind == 5) loss = i % 3 ? sqrt(-1.0) : loss;
                if (kind == 6) rate = i % 2 ? HUGE_VAL : 1e300;
                if (kind == 7) rate = i < 200 ? 1e-30 : 1e10;
                if (kind == 8) loss = i < 100 ? 1e-3 : 1e3; /* a step up */
                if (kind == 9) loss = i < 100 ? 1e3 : 1e-3; /* and down */
                if (kind == 10) loss = exp(20 * normal(&d));
                if (kind == 11) loss = -5;
                if (loss == loss) low = HYB_MIN(low, log(HYB_MAX(loss, 1e-6)));
                if (loss == loss) high = HYB_MAX(high, log(HYB_MAX(loss, 1e-6)));
                hyb_law_step(&law, loss, rate);
            }
            hyb_law_window(&law);
            for (k = 0; law.fitted && k < 3; k++) {
                const double s = law.total * k, v = hyb_law_value(&law, s), slope = hyb_law_slope(&law, s);
                CHECK(hyb_is_finite(v) && hyb_is_finite(slope) && slope <= 0, "kind %d, window %d: %g, slope %g", kind,
                      i, v, slope);
                CHECK(v > low - 6 && v < high + 25, "kind %d, window %d: %g, seen were %g to %g", kind, i, v, low,
                      high);
                CHECK(hyb_is_finite(law.sigma) && law.sigma > 0 && hyb_is_finite(law.residual), "kind %d", kind);
            }
        }
    }
}

/* One window in twelve is far off, and half of the run followed another law: the law of now is found all the same.
 * Derivatives are what differences say. */
static void test_law_robust(void)
{
    hyb_law law;
    hyb_law_try t;
    dice d = { 15, 0 };
    double p[3] = { 0.4, -0.7, 0.3 }, by[3], none[3];
    int i, k;
    TEST("law: robust");
    hyb_law_init(&law);
    for (i = 0; i < 240; i++) {
        for (k = 0; k < 20; k++) {
            const double off = i % 12 == 5 ? 1.5 : 0;
            hyb_law_step(&law, (2 + 4 / sqrt(1 + i / 1.5)) * exp(off + 0.05 * normal(&d)), 1e-3);
        }
        hyb_law_window(&law);
    }
    CHECK(fabs(hyb_law_value(&law, law.total) - log(2 + 4 / sqrt(1 + 240 / 1.5))) < 0.02, "far off: %g",
          hyb_law_value(&law, law.total) - log(2 + 4 / sqrt(1 + 240 / 1.5)));
    hyb_law_init(&law);
    for (i = 0; i < 300; i++) {
        const double l = i < 200 ? 1.5 - 0.001 * i : 1.2 + 0.1 * exp(-(i - 200) / 30.0);
        for (k = 0; k < 20; k++) hyb_law_step(&law, exp(l + 0.01 * normal(&d)), 1e-3);
        hyb_law_window(&law);
    }
    CHECK(fabs(hyb_law_value(&law, law.total) - 1.2036) < 0.02, "another law: %g", hyb_law_value(&law, law.total));
    hyb_law_begin(&law, &t);
    hyb_law_at(&t, p, 100, by);
    for (k = 0; k < 3; k++) {
        double more[3] = { p[0], p[1], p[2] }, less[3] = { p[0], p[1], p[2] }, slope;
        more[k] += 1e-5;
        less[k] -= 1e-5;
        slope = (hyb_law_at(&t, more, 100, none) - hyb_law_at(&t, less, 100, none)) / 2e-5;
        CHECK(fabs(by[k] / slope - 1) < 1e-6, "derivative %d: %g, not %g", k, by[k], slope);
    }
}

/* More windows than there are points: merged ones say the same. */
static void test_law_long(void)
{
    hyb_law law;
    dice d = { 9, 0 };
    double windows = 0;
    int i;
    TEST("law: long");
    planted(&law, 3000, 2, 4, 0.5, 0.05, 1, &d);
    for (i = 0; i < (int)law.n; i++) windows += law.count[i];
    CHECK(law.n <= HYB_LAW_POINTS && windows == 3000, "%g windows in %d points", windows, (int)law.n);
    CHECK(fabs(hyb_law_value(&law, 2 * law.total) - log(2 + 4 * pow(2 * law.total / law.s0 + 1, -0.5))) < 0.01,
          "twice as far: %g", hyb_law_value(&law, 2 * law.total));
    for (i = 1; i < (int)law.n; i++) CHECK(law.s[i] > law.s[i - 1], "in order");
}

/* ---- calibration ------------------------------------------------------------------------------------------------- */

/* Deviations that are wrong by a factor, heavy tails, and a factor that changes: nine of ten of the numbers that come
 * lie within the band all the same. */
static void test_calibration_band(void)
{
    static const double factors[] = { 0.2, 1, 5, 0 };
    dice d = { 10, 0 };
    int kind, heavy, i;
    TEST("calibration: band");
    for (kind = 0; kind < COUNT(factors); kind++)
        for (heavy = 0; heavy < 2; heavy++) {
            hyb_conformal c;
            int inside = 0, early = 0;
            hyb_conformal_init(&c);
            CHECK(c.factor > 1.6 && c.factor < 1.7, "before anything is known");
            for (i = 0; i < 5; i++) hyb_conformal_add(&c, 2, 2, 1);
            CHECK(c.factor > 1.6, "five that were right prove nothing: %g", c.factor);
            hyb_conformal_init(&c);
            for (i = 0; i < 3000; i++) {
                const double factor = factors[kind] > 0 ? factors[kind] : 1 + i / 1000.0, sigma = 0.1 + 0.05 * noise(i);
                const double x = heavy ? normal(&d) : 0, z = normal(&d) / (heavy ? fabs(x) + 0.3 : 1);
                inside += fabs(z * factor) <= c.factor && i >= 200;
                early += fabs(z * factor) <= c.factor && i < 200;
                hyb_conformal_add(&c, 2 + z * factor * sigma, 2, sigma);
            }
            CHECK(inside >= 0.85 * 2800 && inside <= 0.95 * 2800, "factor %g, heavy %d: %.1f %% within", factors[kind],
                  heavy, inside / 28.0);
            CHECK(early >= 0.82 * 200, "factor %g, heavy %d: %d of the first 200 within", factors[kind], heavy, early);
            if (kind == 1 && !heavy) {
                hyb_conformal fresh;
                CHECK(fabs(c.factor - 1.645) < 0.3, "a right deviation stays: %g", c.factor);
                hyb_conformal_add(&c, sqrt(-1.0), 2, 1);
                hyb_conformal_add(&c, 2, 2, 0);
                hyb_conformal_add(&c, 2, HUGE_VAL, 1);
                CHECK(c.n == 3000, "what is no number is passed over");
                hyb_conformal_init(&fresh);
                WALK(hyb_conformal, c, fresh);
            }
        }
}

/* Probabilities that are too sure, too unsure, too high; outcomes by what they should have been. */
static void test_calibration_probability(void)
{
    static const double slopes[] = { 3, 0.3, 1, 1 }, shifts[] = { 0, 0, 1.5, 0 };
    dice d = { 11, 0 };
    int kind, i;
    TEST("calibration: probability");
    for (kind = 0; kind < COUNT(slopes); kind++) {
        hyb_platt t, fresh;
        hyb_score raw, calibrated, empty;
        hyb_platt_init(&t);
        hyb_score_init(&raw);
        hyb_score_init(&calibrated);
        CHECK(fabs(hyb_platt_of(&t, 0.3) - 0.3) < 1e-9 && hyb_score_ece(&raw) == 0, "at first as it is");
        for (i = 0; i < 6000; i++) {
            const double logit = 1.5 * normal(&d), said = 1 / (1 + exp(-slopes[kind] * logit - shifts[kind]));
            const bool happened = uniform(&d) < 1 / (1 + exp(-logit));
            if (i >= 500) {
                hyb_score_add(&raw, said, happened);
                hyb_score_add(&calibrated, hyb_platt_of(&t, said), happened);
            }
            hyb_platt_add(&t, said, happened);
        }
        CHECK(hyb_score_ece(&calibrated) < 0.05, "kind %d: error %.3f, before calibration %.3f", kind,
              hyb_score_ece(&calibrated), hyb_score_ece(&raw));
        if (kind < 3) CHECK(hyb_score_ece(&raw) > 0.09, "kind %d was bad: %.3f", kind, hyb_score_ece(&raw));
        CHECK(hyb_score_brier(&calibrated) < hyb_score_brier(&raw) + 0.003, "kind %d: Brier %.3f, before %.3f", kind,
              hyb_score_brier(&calibrated), hyb_score_brier(&raw));
        CHECK(hyb_platt_of(&t, 0.2) <= hyb_platt_of(&t, 0.8), "order stays");
        hyb_platt_init(&fresh);
        WALK(hyb_platt, t, fresh);
        hyb_score_init(&empty);
        WALK(hyb_score, raw, empty);
    }
}

/* Scores of a few numbers, by hand; and outcomes without any sense. */
static void test_calibration_numbers(void)
{
    hyb_score s;
    hyb_platt t;
    int i;
    TEST("calibration: numbers");
    hyb_score_init(&s);
    hyb_score_add(&s, 0.95, true);
    hyb_score_add(&s, 0.15, true);
    CHECK(fabs(hyb_score_brier(&s) - (HYB_SCORE_OLD * 0.0025 + 0.7225) / (1 + HYB_SCORE_OLD)) < 1e-12, "Brier %g",
          hyb_score_brier(&s));
    CHECK(fabs(hyb_score_ece(&s) - (HYB_SCORE_OLD * 0.05 + 0.85) / (1 + HYB_SCORE_OLD)) < 1e-12, "error %g",
          hyb_score_ece(&s));
    hyb_score_add(&s, sqrt(-1.0), true);
    hyb_score_add(&s, 7, true);
    CHECK(hyb_is_finite(hyb_score_brier(&s)) && hyb_is_finite(hyb_score_ece(&s)), "still numbers");
    hyb_platt_init(&t);
    for (i = 0; i < 400; i++) {
        hyb_platt_add(&t, i % 5 == 0 ? 1 : i % 5 == 1 ? 0 : i % 5 == 2 ? sqrt(-1.0) : 0.5, i % 5 != 0);
        CHECK(t.a >= 0 && hyb_is_finite(t.a) && hyb_is_finite(t.b), "a %g, b %g", t.a, t.b);
    }
    CHECK(hyb_platt_of(&t, 0.5) > 0.6, "it still learns: %g", hyb_platt_of(&t, 0.5));
    hyb_platt_init(&t);
    for (i = 0; i < 400; i++) hyb_platt_add(&t, 0.5, true);
    CHECK(hyb_platt_of(&t, 0.5) > 0.9 && hyb_platt_of(&t, 0.5) < 1, "it always happened: %g", hyb_platt_of(&t, 0.5));
}

/* ---- monitor ----------------------------------------------------------------------------------------------------- */

static hyb_reading reading(double loss, double grad)
{
    hyb_reading r;
    memset(&r, 0, sizeof r);
    r.loss = loss;
    r.has_grad = true;
    r.grad_norm = grad;
    r.can_go_back = true;
    return r;
}

static hyb_monitor fresh_monitor(void)
{
    hyb_monitor_desc desc;
    hyb_monitor m;
    memset(&desc, 0, sizeof desc);
    hyb_monitor_init(&m, &desc);
    return m;
}

/* Steps of a healthy run at which it says something, in percent. */
static void test_monitor_alarms(void)
{
    hyb_monitor m = fresh_monitor();
    dice d = { 1, 0 };
    int i, kind, alarms = 0, warnings = 0;
    TEST("monitor: false alarms");
    for (i = 0; i < 10000; i++) {
        const double l = exp(1 + 0.02 * normal(&d));
        hyb_reading r = reading(l, exp(0.1 * normal(&d)));
        r.has_surprise = true;
        r.surprise = normal(&d);
        hyb_action a = hyb_monitor_look(&m, &r);
        alarms += a.severity > HYB_NORMAL;
        warnings += a.severity > HYB_CAUTION;
    }
    CHECK(alarms < 100 && warnings < 10, "noise: %d alarms, %d warnings in 10000 steps", alarms, warnings);
    m = fresh_monitor();
    alarms = warnings = 0;
    for (i = 0; i < RUN; i++) {
        hyb_reading r = reading(run_loss[i], run_grad[i]);
        hyb_action a = hyb_monitor_look(&m, &r);
        alarms += a.severity > HYB_NORMAL;
        warnings += a.severity > HYB_CAUTION;
        if (a.severity > HYB_NORMAL && getenv("SHOW")) printf("run %d: %d %x %s\n", i, a.severity, a.signals, a.why);
    }
    CHECK(alarms < RUN / 100 && warnings == 0, "recorded run: %d alarms, %d warnings in %d steps", alarms, warnings,
          RUN);
    /* curves that fall quickly and then slowly, with little noise and with much */
    for (kind = 0; kind < 24; kind++) {
        m = fresh_monitor();
        alarms = warnings = 0;
        for (i = 0; i < 2000; i++) {
            const double a = kind % 2 ? 0.3 : 1.2, sigma = kind / 2 % 3 == 0 ? 0.003 : kind / 2 % 3 == 1 ? 0.03 : 0.15;
            const double l = log((kind / 6 % 2 ? 2.0 : 0.02) + 8 * pow(1 + i / (kind / 12 ? 20.0 : 3.0), -a));
            hyb_reading r = reading(exp(l + sigma * normal(&d)), exp(0.3 * normal(&d) - 0.002 * i));
            hyb_action act = hyb_monitor_look(&m, &r);
            alarms += act.severity > HYB_NORMAL;
            warnings += act.severity > HYB_CAUTION;
            if (act.severity > HYB_NORMAL && getenv("SHOW"))
                printf("%d %d: %d %x\n", kind, i, act.severity, act.signals);
        }
        CHECK(alarms < 20 && warnings < 3, "curve %d: %d alarms, %d warnings in 2000 steps", kind, alarms, warnings);
    }
}

/* A monitor that has seen 400 steps of noise: deviation 0.02 of l = 1, gradients around 1. */
static hyb_monitor used_monitor(dice *d)
{
    hyb_monitor m = fresh_monitor();
    int i;
    for (i = 0; i < 400; i++) {
        hyb_reading r = reading(exp(1 + 0.02 * normal(d)), exp(0.1 * normal(d)));
        hyb_monitor_look(&m, &r);
    }
    return m;
}

/* What it says of one more loss and gradient. */
static hyb_action seen(const hyb_monitor *m, double l, double grad)
{
    hyb_monitor copy = *m;
    hyb_reading r = reading(exp(l), grad);
    return hyb_monitor_look(&copy, &r);
}

static void test_monitor_single(void)
{
    dice d = { 2, 0 };
    hyb_monitor m = used_monitor(&d), copy;
    const double none = sqrt(-1.0);
    hyb_reading r;
    hyb_action a;
    TEST("monitor: one step");
    a = seen(&m, 1, 1);
    CHECK(a.act == HYB_ACT_CONTINUE && a.severity == HYB_NORMAL && a.signals == 0, "nothing");
    a = seen(&m, 1.09, 1);
    CHECK(a.act == HYB_ACT_SHORTEN && a.severity == HYB_CAUTION && a.shorten == 0.5, "4.5 deviations: %d", a.severity);
    a = seen(&m, 1.18, 1);
    CHECK(a.act == HYB_ACT_FULL && a.severity == HYB_WARNING && a.steps == 40, "9 deviations: %d", a.severity);
    a = seen(&m, 1.4, 1);
    CHECK(a.act == HYB_ACT_ROLL_BACK && a.severity == HYB_CRITICAL && a.rate == 1, "20 deviations: %d", a.severity);
    CHECK(a.signals == HYB_SIGNAL_LOSS, "signals %x", a.signals);
    CHECK(seen(&m, 0.2, 1).severity == HYB_NORMAL, "a loss that is much better is no alarm");
    CHECK(seen(&m, none, 1).act == HYB_ACT_ROLL_BACK, "no number");
    CHECK(seen(&m, HUGE_VAL, 1).signals == HYB_SIGNAL_NO_NUMBER, "infinity");
    CHECK(seen(&m, 1, none).severity == HYB_CRITICAL, "a gradient that is no number");
    CHECK(seen(&m, 1, HUGE_VAL).severity == HYB_CRITICAL, "an infinite gradient");
    CHECK(seen(&m, 1, 5).severity == HYB_NORMAL, "a gradient 5 times as long");
    CHECK(seen(&m, 1, 20).severity == HYB_CAUTION, "20 times");
    a = seen(&m, 1, 200);
    CHECK(a.severity == HYB_WARNING && a.signals == HYB_SIGNAL_EXPLODES, "200 times");
    CHECK(seen(&m, 1, 2000).act == HYB_ACT_ROLL_BACK, "2000 times");
    a = seen(&m, 1, 0.005);
    CHECK(a.severity == HYB_WARNING && a.signals == HYB_SIGNAL_VANISHES, "a 200th");
    CHECK(seen(&m, 1, 0).signals == HYB_SIGNAL_VANISHES, "no gradient");
    copy = m;
    r = reading(exp(1.0), 0);
    r.has_grad = false;
    CHECK(hyb_monitor_look(&copy, &r).severity == HYB_NORMAL && copy.n_grad == m.n_grad, "Predict has no gradient");
    r.has_surprise = true;
    r.surprise = 4;
    CHECK(hyb_monitor_look(&copy, &r).act == HYB_ACT_SHORTEN, "surprise 4");
    r.surprise = 6;
    a = hyb_monitor_look(&copy, &r);
    CHECK(a.act == HYB_ACT_FULL && a.signals == HYB_SIGNAL_SURPRISE, "surprise 6");
    r.surprise = -6;
    CHECK(hyb_monitor_look(&copy, &r).act == HYB_ACT_SHORTEN, "surprise -6");
    r.can_go_back = false;
    r.loss = exp(1.5);
    a = hyb_monitor_look(&copy, &r);
    CHECK(a.severity == HYB_CRITICAL && a.act == HYB_ACT_FULL, "critical, and nothing to go back to: %d", a.act);
    r.loss = none;
    a = hyb_monitor_look(&copy, &r);
    CHECK(a.act == HYB_ACT_ABORT && strstr(a.why, "nothing to go back to"), "no number, and nothing to go back to");
    CHECK(fabs(seen(&m, 1.09, 1).rate - 1) < 1e-12 && strlen(a.why) < 200, "sentences fit");
    copy = fresh_monitor();
    WALK(hyb_monitor, m, copy);
}

/* After how many steps a change shows that begins now: l and log gradient are made by step. 0: not within 200. */
static int found_after(hyb_monitor m, dice *d, int kind, uint32_t signal, hyb_severity severity)
{
    int i;
    for (i = 1; i <= 200; i++) {
        double l = 1 + 0.02 * normal(d), g = 0.1 * normal(d);
        hyb_reading r;
        hyb_action a;
        if (kind == 0) l += 0.002 * i;
        if (kind == 1) l += 0.02 * i;
        if (kind == 2) l += i % 2 ? 0.08 : -0.08;
        if (kind == 3) g += 0.3 * i;
        if (kind == 4) g -= 0.3 * i;
        r = reading(exp(l), exp(g));
        a = hyb_monitor_look(&m, &r);
        if ((a.signals & signal) && a.severity >= severity) return i;
    }
    return 0;
}

static void test_monitor_gradual(void)
{
    dice d = { 3, 0 };
    hyb_monitor m = used_monitor(&d);
    int n;
    TEST("monitor: many steps");
    n = found_after(m, &d, 0, HYB_SIGNAL_CREEP, HYB_WARNING);
    CHECK(n > 0 && n <= 60, "a creeping loss, 0.2 %% a step: after %d", n);
    n = found_after(m, &d, 1, HYB_SIGNAL_LOSS, HYB_WARNING);
    CHECK(n > 0 && n <= 20, "a loss that explodes, 2 %% a step: after %d", n);
    n = found_after(m, &d, 1, HYB_SIGNAL_REPEATED, HYB_CRITICAL);
    CHECK(n > 0 && n <= 40, "warnings one after another are critical: after %d", n);
    n = found_after(m, &d, 2, HYB_SIGNAL_OSCILLATES, HYB_CAUTION);
    CHECK(n > 0 && n <= 120, "oscillation: after %d", n);
    n = found_after(m, &d, 2, HYB_SIGNAL_OSCILLATES, HYB_WARNING);
    CHECK(n > 0 && n <= 120, "the same, as a warning: after %d", n);
    n = found_after(m, &d, 3, HYB_SIGNAL_EXPLODES, HYB_WARNING);
    CHECK(n > 0 && n <= 25, "a gradient that explodes: after %d", n);
    n = found_after(m, &d, 4, HYB_SIGNAL_VANISHES, HYB_WARNING);
    CHECK(n > 0 && n <= 25, "a gradient that vanishes: after %d", n);
    CHECK(!found_after(m, &d, 9, ~0u, HYB_WARNING), "nothing");
    m = fresh_monitor();
    for (n = 0; n < 400; n++) {
        hyb_reading r = reading(exp(n % 2 ? 1.05 : 0.95), 1);
        hyb_action a = hyb_monitor_look(&m, &r);
        CHECK(!(a.signals & HYB_SIGNAL_OSCILLATES), "step %d: what has always gone up and down is no danger", n);
    }
}

/* Something is injected into the recorded run at every fiftieth step. */
static void test_monitor_injected(void)
{
    hyb_monitor m = fresh_monitor();
    int i, spikes = 0, explosions = 0, vanished = 0, tries = 0;
    TEST("monitor: injected into the recorded run");
    for (i = 0; i < RUN; i++) {
        hyb_reading r = reading(run_loss[i], run_grad[i]);
        if (i >= 100 && i % 50 == 0) {
            tries++;
            spikes += seen(&m, log(run_loss[i]) + 0.5, run_grad[i]).severity >= HYB_WARNING;
            explosions += seen(&m, log(run_loss[i]), run_grad[i] * 300).severity >= HYB_WARNING;
            vanished += seen(&m, log(run_loss[i]), run_grad[i] / 300).severity >= HYB_WARNING;
            CHECK(seen(&m, sqrt(-1.0), 1).act == HYB_ACT_ROLL_BACK, "no number at step %d", i);
        }
        hyb_monitor_look(&m, &r);
    }
    CHECK(spikes == tries && explosions == tries && vanished == tries, "%d spikes, %d explosions, %d vanished of %d",
          spikes, explosions, vanished, tries);
}

/* Roll-backs: half the rate from the second, the end after five; unless 500 good steps lie between. */
static void test_monitor_escalates(void)
{
    dice d = { 4, 0 };
    hyb_monitor m = used_monitor(&d);
    const hyb_reading bad = reading(exp(3.0), 1);
    hyb_action a;
    int i, k;
    TEST("monitor: roll-backs");
    for (k = 1; k <= 5; k++) {
        a = hyb_monitor_look(&m, &bad);
        CHECK(a.act == HYB_ACT_ROLL_BACK && a.rate == (k < 2 ? 1 : 0.5) && a.steps == 40, "%d: act %d, rate %g", k,
              a.act, a.rate);
        hyb_monitor_rolled_back(&m);
        CHECK(m.n_turn == 0 && m.n_warnings == 0 && m.creep == 0, "what was seen since the snapshot is forgotten");
        for (i = 0; i < 50; i++) {
            hyb_reading r = reading(exp(1 + 0.02 * normal(&d)), 1);
            a = hyb_monitor_look(&m, &r);
            CHECK(a.severity <= HYB_CAUTION, "after a roll-back it is as it was: %s", a.why);
        }
    }
    a = hyb_monitor_look(&m, &bad);
    CHECK(a.act == HYB_ACT_ABORT && strstr(a.why, "five roll-backs"), "the sixth: %d", a.act);
    for (i = 0; i < 501; i++) {
        hyb_reading r = reading(exp(1 + 0.02 * normal(&d)), 1);
        hyb_monitor_look(&m, &r);
    }
    a = hyb_monitor_look(&m, &bad);
    CHECK(a.act == HYB_ACT_ROLL_BACK && a.rate == 1, "long after: act %d, rate %g", a.act, a.rate);
}

/* ---- bandit ------------------------------------------------------------------------------------------------------ */

/* Decisions in a made-up world: what an arm brings, on the average. The number of times that `wanted` was taken from
 * `from` on; *sum: all rewards without their noise. */
typedef double (*world)(int arm, const double *x);
static double placebo(int arm, const double *x)
{
    (void)arm;
    (void)x;
    return -0.1;
}
static double weak_placebo(int arm, const double *x)
{
    (void)arm;
    (void)x;
    return -0.05;
}
static double good_jump(int arm, const double *x)
{
    (void)x;
    return arm == HYB_ARM_B + 1 ? 0.15 : -0.05;
}
static double good_at_times(int arm, const double *x) { return arm == HYB_ARM_A ? 0.15 * x[4] : -0.1; }

static int decide(hyb_bandit *b, world reward, double noise_of, uint32_t legal, int n, int from, int wanted, dice *d,
                  double *sum)
{
    int i, k, count = 0;
    *sum = 0;
    for (i = 0; i < n; i++) {
        double x[HYB_N_CONTEXT], r;
        hyb_choice c;
        x[0] = 1;
        for (k = 1; k < HYB_N_CONTEXT; k++) x[k] = hyb_clamp(normal(d), -3, 3);
        c = hyb_bandit_choose(b, x, legal);
        CHECK((legal | 1) >> c.arm & 1, "arm %d is not allowed", c.arm);
        CHECK(c.arm == HYB_ARM_OFF ? c.mean == 0 : c.p_gain >= HYB_BANDIT_HOPE && c.p_gain <= 1 && c.deviation > 0,
              "arm %d: mean %g, deviation %g, p %g", c.arm, c.mean, c.deviation, c.p_gain);
        r = c.arm ? reward(c.arm, x) : 0;
        *sum += r;
        if (i >= from) count += c.arm == wanted;
        hyb_bandit_reward(b, c.arm, x, c.arm ? r + noise_of * normal(d) : 0);
    }
    return count;
}

enum { BANDITS = 8 };
static void test_bandit_placebo(void)
{
    const uint32_t all = (1u << HYB_N_ARMS) - 1, only_a = hyb_arms_of(1u << HYB_WAY_A);
    dice d = { 12, 0 };
    hyb_bandit b;
    double sum, sums[3] = { 0, 0, 0 };
    int seed, off[3] = { 0, 0, 0 };
    TEST("bandit: placebo");
    for (seed = 0; seed < BANDITS; seed++) {
        hyb_bandit_init(&b, seed);
        off[0] += decide(&b, placebo, 0.1, all, 60, 30, HYB_ARM_OFF, &d, &sum);
        sums[0] += sum;
        hyb_bandit_init(&b, seed);
        off[1] += decide(&b, weak_placebo, 0.05, all, 100, 30, HYB_ARM_OFF, &d, &sum);
        sums[1] += sum;
        hyb_bandit_init(&b, seed);
        off[2] += decide(&b, placebo, 0.1, only_a, 60, 30, HYB_ARM_OFF, &d, &sum);
        sums[2] += sum;
    }
    CHECK(off[0] >= 0.9 * 30 * BANDITS, "ten percent harm: off in %d of %d decisions after 30", off[0], 30 * BANDITS);
    CHECK(off[1] >= 0.7 * 70 * BANDITS, "five percent harm: off in %d of %d", off[1], 70 * BANDITS);
    CHECK(off[2] >= 0.9 * 30 * BANDITS, "with A alone: off in %d of %d", off[2], 30 * BANDITS);
    CHECK(sums[0] > -0.03 * 60 * BANDITS && sums[1] > -0.03 * 100 * BANDITS, "it cost %.2f %% and %.2f %% of the time",
          -sums[0] / (0.6 * BANDITS), -sums[1] / BANDITS);
}

static void test_bandit_good(void)
{
    const uint32_t all = (1u << HYB_N_ARMS) - 1;
    dice d = { 13, 0 };
    hyb_bandit b, same, fresh;
    double sum, x[HYB_N_CONTEXT] = { 1 }, y[HYB_N_CONTEXT] = { 1 };
    float features[HYB_N_FEATURES];
    int seed, found = 0, i;
    TEST("bandit: a good arm");
    for (seed = 0; seed < BANDITS; seed++) {
        hyb_bandit_init(&b, seed);
        found += decide(&b, good_jump, 0.05, all, 200, 100, HYB_ARM_B + 1, &d, &sum);
    }
    CHECK(found >= 0.7 * 100 * BANDITS, "in %d of %d decisions", found, 100 * BANDITS);
    hyb_bandit_init(&fresh, 1);
    WALK(hyb_bandit, b, fresh);
    x[4] = 2;
    y[4] = -2;
    hyb_bandit_init(&b, 3);
    decide(&b, good_at_times, 0.05, 1u << HYB_ARM_A, 200, 0, HYB_ARM_A, &d, &sum);
    for (i = found = 0; i < 50; i++) {
        found += hyb_bandit_choose(&b, x, 1u << HYB_ARM_A).arm == HYB_ARM_A;
        found += hyb_bandit_choose(&b, y, 1u << HYB_ARM_A).arm == HYB_ARM_OFF;
    }
    CHECK(found >= 95, "an arm that is good at times: right in %d of 100 decisions", found);
    same = b;
    for (i = 0; i < 50; i++) {
        hyb_choice one = hyb_bandit_choose(&b, x, all), other = hyb_bandit_choose(&same, x, all);
        CHECK(one.arm == other.arm && one.mean == other.mean, "the same again");
    }
    CHECK(hyb_bandit_choose(&b, x, 0).arm == HYB_ARM_OFF, "nothing is allowed");
    for (i = 0; i < HYB_N_FEATURES; i++) features[i] = (float)i;
    features[63] = 1;
    hyb_bandit_context(features, x);
    CHECK(x[0] == 1 && x[1] == 2, "context");
    for (i = 0; i < HYB_N_CONTEXT; i++) CHECK(x[i] <= 3, "context within bounds");
}

/* What is thought afterwards, of one reward: by hand, from Bayes' rule. Rewards that are no numbers change nothing. */
static void test_bandit_numbers(void)
{
    const double x[HYB_N_CONTEXT] = { 1 }, noise_of = HYB_BANDIT_NOISE * HYB_BANDIT_NOISE;
    double prior = 0.05 * 0.05 + 0.02 * 0.02 + 0.01 * 0.01, phi[HYB_BANDIT_N], expected, squares;
    hyb_bandit b, before;
    hyb_belief belief;
    TEST("bandit: numbers");
    hyb_bandit_init(&b, 1);
    before = b;
    hyb_bandit_reward(&b, HYB_ARM_A, x, sqrt(-1.0));
    hyb_bandit_reward(&b, 99, x, 0.1);
    hyb_bandit_reward(&b, -1, x, 0.1);
    CHECK(!memcmp(&b, &before, sizeof b), "nothing was learnt");
    hyb_bandit_reward(&b, HYB_ARM_A, x, 0.2);
    hyb_bandit_believe(&b, &belief);
    hyb_bandit_row(HYB_ARM_A, x, phi);
    squares = 0.04 / (1 + prior / noise_of);
    expected = 0.2 * prior / (prior + (4 * noise_of + squares) / 5);
    CHECK(fabs(hyb_bandit_dot(phi, belief.mean) - expected) < 1e-9, "mean %.9g, not %.9g",
          hyb_bandit_dot(phi, belief.mean), expected);
    CHECK(fabs(hyb_belief_variance(&belief, phi) - prior * (1 - expected / 0.2)) < 1e-9, "its variance");
    hyb_bandit_prior(&b, HYB_ARM_A2, 0.3, 0.001);
    hyb_bandit_prior(&b, 0, 9, 9);
    hyb_bandit_prior(&b, HYB_N_ARMS, 9, 9);
    hyb_bandit_prior(&b, HYB_ARM_A, 9, 0);
    CHECK(hyb_bandit_choose(&b, x, (1u << HYB_N_ARMS) - 1).arm == HYB_ARM_A2, "what was known before counts");
    hyb_bandit_reward(&b, HYB_ARM_A, x, 1e9);
    hyb_bandit_believe(&b, &belief);
    hyb_bandit_row(HYB_ARM_A, x, phi);
    CHECK(hyb_bandit_dot(phi, belief.mean) < 1, "a wild reward is cut off");
    CHECK(hyb_bandit_variance(&b) < 1, "and does not make all others look alike: %g", hyb_bandit_variance(&b));
}

/* ---- phases ------------------------------------------------------------------------------------------------------ */

static hyb_phases fresh_phases(hyb_phase_rule rule, int max_predict)
{
    hyb_phases_desc desc;
    hyb_phases p;
    memset(&desc, 0, sizeof desc);
    desc.rule = rule;
    desc.n_steps = 2000;
    desc.max_predict = max_predict;
    hyb_phases_init(&p, &desc);
    return p;
}

static hyb_phase_look look(double confidence, int arm)
{
    hyb_phase_look l;
    memset(&l, 0, sizeof l);
    l.confidence = confidence;
    l.health = l.stability = 1;
    l.arm = arm;
    return l;
}

/* A step, which is paid for. */
static hyb_phase_order next(hyb_phases *p, const hyb_phase_look *l)
{
    hyb_phase_order order = hyb_phases_next(p, l);
    hyb_phases_spend(p, order.is_true ? 1 : 0.01);
    return order;
}

/* The next phase and its length as "P15", until the end of it. */
static const char *whole_phase(hyb_phases *p, const hyb_phase_look *l)
{
    static char words[4][16];
    static int at;
    char *text = words[at++ % 4];
    hyb_phase_order order = next(p, l), first = order;
    int n = 1;
    CHECK(order.begins && order.step == 0, "a phase begins");
    for (; n < order.length; n++) {
        order = next(p, l);
        CHECK(order.phase == first.phase && order.step == n && !order.begins, "it goes on");
    }
    snprintf(text, sizeof words[0], "%c%d", "WFPC"[first.phase], n);
    return text;
}

static void phases_are(hyb_phases *p, const hyb_phase_look *l, const char *expected)
{
    char got[256];
    got[0] = 0;
    while (strlen(got) < strlen(expected)) {
        if (got[0]) strcat(got, " ");
        strcat(got, whole_phase(p, l));
    }
    CHECK(!strcmp(got, expected), "%s, not %s", got, expected);
}

static void test_phases_transitions(void)
{
    static const char legal[4][4] = { { 0, 1, 0, 0 }, { 0, 1, 1, 1 }, { 0, 1, 0, 1 }, { 0, 1, 1, 0 } };
    int from, to;
    TEST("phases: transitions");
    for (from = 0; from < 4; from++)
        for (to = -1; to <= 4; to++) {
            const bool ok = to >= 0 && to < 4 && legal[from][to];
            hyb_phases p = fresh_phases(HYB_RULE_STATIC, 15);
            hyb_phase_look l = look(1, HYB_ARM_A);
            hyb_phase_result result;
            p.phase = from;
            p.length = 7;
            p.step = 3;
            result = hyb_phases_enter(&p, (hyb_phase)to, 4);
            CHECK((result == HYB_PHASE_OK) == ok, "%d to %d: %d", from, to, result);
            if (ok) {
                CHECK(p.phase == to && p.length == 4 && p.step == 0, "%d to %d is entered", from, to);
            } else if (from != HYB_PHASE_WARMUP) {
                hyb_phase_order order = next(&p, &l);
                CHECK(order.phase == HYB_PHASE_FULL && order.length == 10 && order.begins, "%d to %d: Full", from, to);
            } else {
                CHECK(p.phase == HYB_PHASE_WARMUP && p.length == 7 && p.step == 3, "Warmup goes on");
            }
        }
    {
        hyb_phases p = fresh_phases(HYB_RULE_STATIC, 15);
        p.phase = HYB_PHASE_FULL;
        CHECK(hyb_phases_enter(&p, HYB_PHASE_PREDICT, 0) == HYB_PHASE_ILLEGAL, "no steps");
    }
}

static void test_phases_static(void)
{
    hyb_phases p = fresh_phases(HYB_RULE_STATIC, 80);
    hyb_phase_look l = look(0.9, HYB_ARM_A);
    TEST("phases: static");
    phases_are(&p, &l, "W100 F20 P64 C5 P57 C5 P51 C5 P44 C5 P38 C5 F20 P64 C5");
    p = fresh_phases(HYB_RULE_STATIC, 0);
    phases_are(&p, &l, "W100 F20 P12 C5 P10 C5 P10 C5 P10 C5 P10 C5 F20 P12");
    p = fresh_phases(HYB_RULE_STATIC, 6);
    phases_are(&p, &l, "W100 F20 P6 C5 P6");
    l.confidence = 0.84;
    phases_are(&p, &l, "C5 F20 F20 F20");
    l.confidence = sqrt(-1.0);
    phases_are(&p, &l, "F20");
    l.confidence = 0.85;
    phases_are(&p, &l, "P6 C5");
    hyb_phases_observe(&p, false, 0.3); /* it failed: Full before the next */
    phases_are(&p, &l, "F20 P6 C5");
    hyb_phases_observe(&p, true, 0.01);
    phases_are(&p, &l, "P6 C5");
    CHECK(fabs(hyb_phases_success(&p) - 0.5) < 1e-12, "one of two was good");
    hyb_phases_raise(&p, 0.1);
    phases_are(&p, &l, "F20 F20");
    l.arm = HYB_ARM_OFF;
    l.confidence = 1;
    phases_are(&p, &l, "F20");
}

static void test_phases_adaptive(void)
{
    hyb_phases p = fresh_phases(HYB_RULE_ADAPTIVE, 40);
    hyb_phase_look l = look(0.9, HYB_ARM_A);
    int i;
    TEST("phases: adaptive");
    l.stability = 0.5;
    phases_are(&p, &l, "W100 F20 P18 C5");
    l.health = 0.7;
    phases_are(&p, &l, "P14 C5");
    l.health = 0.5;
    phases_are(&p, &l, "P9 C5");
    l.health = 0.49;
    phases_are(&p, &l, "F30 F30");
    hyb_phases_observe(&p, true, 0.2);
    phases_are(&p, &l, "F40");
    for (i = 0; i < 10; i++) hyb_phases_observe(&p, true, 0.01);
    phases_are(&p, &l, "F20");
    hyb_phases_observe(&p, true, 0.06);
    phases_are(&p, &l, "F30");
}

/* Decisions fall on ends of windows, whatever was done before. */
static void test_phases_auto(void)
{
    hyb_phases p = fresh_phases(HYB_RULE_AUTO, 0);
    hyb_phase_look l = look(0, HYB_ARM_OFF);
    dice d = { 5, 0 };
    int i, since_end = 0, seen_phase[4] = { 0 }, seen_arm[HYB_N_ARMS] = { 0 };
    TEST("phases: auto");
    phases_are(&p, &l, "W100 F20 F20");
    l.arm = HYB_ARM_A;
    phases_are(&p, &l, "P1 C5 F15 P1 C5 F15");
    l.arm = HYB_ARM_A2;
    phases_are(&p, &l, "P20 C5 F15");
    l.arm = HYB_ARM_B; /* 16 steps in one */
    phases_are(&p, &l, "P1 C4 F16 F20");
    p.spent = 500;
    l.arm = HYB_ARM_B + 3; /* 128 steps in one */
    phases_are(&p, &l, "P1 C32 F8 F20");
    p.spent = 800;
    l.arm = HYB_ARM_C + 1; /* 16 true steps of 64 */
    phases_are(&p, &l, "P64 C5 F19");
    p = fresh_phases(HYB_RULE_AUTO, 0);
    for (i = 0; i < 20000; i++) {
        const bool chooses = hyb_phases_chooses(&p, &l);
        hyb_phase_order order;
        uint32_t legal = hyb_phases_legal(&p, &l);
        if (p.spent > 1500 || i == 0) {
            p.spent = 200;
            p.last_leap = 0;
        }
        do l.arm = (int32_t)(uniform(&d) * HYB_N_ARMS);
        while (uniform(&d) < 0.9 && !(legal >> l.arm & 1));
        order = next(&p, &l);
        if (chooses) {
            CHECK(since_end == 0, "step %d: %d steps after the end of a window", i, since_end);
            CHECK(order.begins && order.phase == (l.arm && (legal >> l.arm & 1) ? HYB_PHASE_PREDICT : HYB_PHASE_FULL),
                  "the arm %d that was chosen: phase %d", l.arm, order.phase);
            if (order.phase == HYB_PHASE_PREDICT) CHECK(order.arm == l.arm, "arm %d is %d", l.arm, order.arm);
        }
        if (order.phase == HYB_PHASE_PREDICT) seen_arm[order.arm]++;
        seen_phase[order.phase]++;
        if (order.is_true) since_end = (since_end + 1) % 20;
        CHECK(order.ends_window == (order.is_true && since_end == 0), "the end of a window");
        l.severity = uniform(&d) < 0.002 ? HYB_WARNING : HYB_NORMAL;
        if (uniform(&d) < 0.001) hyb_phases_force_full(&p, 1 + (int)(uniform(&d) * 60));
    }
    for (i = 0; i < 4; i++) CHECK(seen_phase[i] > 0, "phase %d", i);
    for (i = 1; i < HYB_N_ARMS; i++) CHECK(seen_arm[i] > 0, "arm %d", i);
}

/* When there is no predicting. */
static void test_phases_forbidden(void)
{
    const uint32_t off = 1, small = hyb_arms_of(1u << HYB_WAY_A | 1u << HYB_WAY_A2), all = (1u << HYB_N_ARMS) - 1;
    hyb_phases p = fresh_phases(HYB_RULE_AUTO, 0), q;
    hyb_phase_look l = look(1, HYB_ARM_OFF), m;
    TEST("phases: forbidden");
    CHECK(hyb_phases_legal(&p, &l) == off, "Warmup");
    phases_are(&p, &l, "W100 F20");
    CHECK(hyb_phases_legal(&p, &l) == all, "all is allowed: %x", hyb_phases_legal(&p, &l));
    m = l;
    m.severity = HYB_CAUTION;
    CHECK(hyb_phases_legal(&p, &m) == all, "caution");
    m.severity = HYB_WARNING;
    CHECK(hyb_phases_legal(&p, &m) == off, "warning");
    m = l;
    m.rate_drift = 0.03;
    CHECK(hyb_phases_legal(&p, &m) == small, "no jumps while the rate goes down");
    q = p;
    hyb_phases_force_full(&q, 5);
    CHECK(hyb_phases_legal(&q, &l) == off, "Full was asked for");
    q = p;
    q.spent = 0.76 * 2000;
    CHECK(hyb_phases_legal(&q, &l) == small, "no jumps at the end");
    q.spent = 0.04 * 2000;
    CHECK(hyb_phases_legal(&q, &l) == off, "the beginning");
    q.spent = 0.05 * 2000;
    CHECK(hyb_phases_legal(&q, &l) == all, "after it");
    m = l;
    m.arm = HYB_ARM_B;
    q = p;
    phases_are(&q, &m, "P1 C4 F16");
    CHECK(hyb_phases_legal(&q, &l) == small, "no jump soon after a jump");
    q.spent += 179;
    CHECK(hyb_phases_legal(&q, &l) == small, "199 steps after it");
    q.spent += 2;
    CHECK(hyb_phases_legal(&q, &l) == all, "200 steps after it");
    q = p;
    m = l;
    m.rate_jumped = true;
    CHECK(hyb_phases_legal(&q, &m) == off, "a jump of the rate");
    next(&q, &m);
    CHECK(hyb_phases_legal(&q, &l) == off && q.since_jump == 0, "a step after it");
    q.phase = HYB_PHASE_FULL;
    q.since_jump = 19;
    CHECK(hyb_phases_legal(&q, &l) == off, "19 steps after it");
    q.since_jump = 20;
    CHECK(hyb_phases_legal(&q, &l) == all, "20 steps after it");
    m = l;
    m.arm = 99;
    q = p;
    phases_are(&q, &m, "F20");
    m.arm = -1;
    phases_are(&q, &m, "F20");
    m.arm = HYB_ARM_C;
    next(&q, &m);
    CHECK(q.phase == HYB_PHASE_PREDICT, "a skip begins");
    m.severity = HYB_WARNING;
    next(&q, &m);
    CHECK(q.phase == HYB_PHASE_CORRECT, "and ends at a warning");
    CHECK(fabs(hyb_phases_budget(&p) - 0.06) < 1e-12, "120 of 2000 steps are spent: %g", hyb_phases_budget(&p));
}

/* Each thing that the monitor asks for is seen. */
static void test_phases_act(void)
{
    hyb_phases p = fresh_phases(HYB_RULE_AUTO, 0);
    hyb_phase_look l = look(1, HYB_ARM_OFF);
    hyb_action a;
    TEST("phases: actions");
    memset(&a, 0, sizeof a);
    a.act = HYB_ACT_FULL;
    a.steps = 40;
    hyb_phases_act(&p, &a);
    phases_are(&p, &l, "W100 F20");
    l.arm = HYB_ARM_C;
    next(&p, &l);
    hyb_phases_act(&p, &a);
    phases_are(&p, &l, "F40");
    a.act = HYB_ACT_SHORTEN;
    a.shorten = 0.5;
    hyb_phases_act(&p, &a);
    p.spent = 700;
    phases_are(&p, &l, "P32 C5");
    l.arm = HYB_ARM_A;
    phases_are(&p, &l, "F19");
    CHECK(next(&p, &l).scale == 0.5, "half as far");
    hyb_phases_observe(&p, true, 0.01);
    CHECK(fabs(p.scale - 0.55) < 1e-12, "it comes back");
    a.act = HYB_ACT_ROLL_BACK;
    hyb_phases_act(&p, &a);
    phases_are(&p, &l, "F40 P1 C5");
    p = fresh_phases(HYB_RULE_STATIC, 0);
    phases_are(&p, &l, "W100 F20");
    a.act = HYB_ACT_SHORTEN;
    hyb_phases_act(&p, &a);
    phases_are(&p, &l, "P7 C5");
    a.act = HYB_ACT_ABORT;
    hyb_phases_act(&p, &a);
    phases_are(&p, &l, "P6");
}

/* A copy that was made by way of a checkpoint goes on as the original does. */
static void test_phases_resume(void)
{
    hyb_phases p = fresh_phases(HYB_RULE_STATIC, 40), q;
    const hyb_phases fresh = p;
    dice d = { 6, 0 };
    int i;
    TEST("phases: resume");
    for (i = 0; i < 600; i++) {
        hyb_phase_look l = look(0.7 + 0.3 * uniform(&d), HYB_ARM_A);
        unsigned char bytes[8192];
        hyb_byte_walk w;
        hyb_phase_order a, b;
        memset(&w, 0, sizeof w);
        w.at = bytes;
        w.size = sizeof bytes;
        hyb_phases_walk(&p, &w);
        w.size = w.n;
        w.n = 0;
        w.reads = true;
        q = fresh;
        hyb_phases_walk(&q, &w);
        CHECK(!w.failed, "it fits");
        a = next(&p, &l);
        b = next(&q, &l);
        CHECK(a.phase == b.phase && a.step == b.step && a.length == b.length && !strcmp(a.why, b.why), "step %d", i);
        CHECK(!memcmp(&p, &q, sizeof p), "step %d: all of it", i);
        if (uniform(&d) < 0.05) hyb_phases_observe(&p, uniform(&d) < 0.7, uniform(&d));
    }
    WALK(hyb_phases, p, fresh);
}

int main(void)
{
    read_run();
    if (test_wanted("features")) {
        test_features_golden();
        test_features_scale();
        test_features_hostile();
        test_features_effect();
    }
    if (test_wanted("law")) {
        test_law_planted();
        test_law_run();
        test_law_hostile();
        test_law_robust();
        test_law_long();
    }
    if (test_wanted("calibration")) {
        test_calibration_band();
        test_calibration_probability();
        test_calibration_numbers();
    }
    if (test_wanted("bandit")) {
        test_bandit_placebo();
        test_bandit_good();
        test_bandit_numbers();
    }
    if (test_wanted("phases")) {
        test_phases_transitions();
        test_phases_static();
        test_phases_adaptive();
        test_phases_auto();
        test_phases_forbidden();
        test_phases_act();
        test_phases_resume();
    }
    if (test_wanted("monitor")) {
        test_monitor_alarms();
        test_monitor_single();
        test_monitor_gradual();
        test_monitor_injected();
        test_monitor_escalates();
    }
    return test_end();
}
