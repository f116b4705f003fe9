/* Mode D: steps of which some batches go back and of the others the losses alone are computed. Gradients against the
 * formula, in double, with a regression over a list of all pairs; that they have the expectation of a gradient, and
 * less noise where losses tell of them; slices, checkpoints, going back, fp16, refusals. The model is somebody else's:
 * linear in its weights, so that how losses and gradients belong together is what a test says. */
#include "predict_own.h"

enum { MOST = 8, PAIRS = 4096 };

static const hybrid_trainable_param params[] = { { "a", 0, 4, 6, false }, { "b", 32, 1, 16, false } };
enum { AT_A = 0, N_A = 24, AT_B = 32, N_B = 16, VALUES = 48 };

typedef struct linear {
    float weights[VALUES];
    int64_t at;                /* the next batch */
    int64_t n_back, n_forward; /* calls for gradients, and for losses alone */
    int64_t bad_at;            /* the batch of this number gives no finite loss, once; 0: none */
    bool unequal;              /* batches have 1 to 3 examples */
    bool aloof;                /* losses have nothing to do with gradients */
    bool refuses;              /* there are no losses without gradients */
    int64_t mark, n_gone;
} linear;

static bool is_weight(int j) { return j < N_A || (j >= AT_B && j < AT_B + N_B); }

/* An example: its loss, and its gradient by each weight: a v + noise, and a v w + the noise's part + something else. */
static double example(const linear *m, int64_t number, int64_t i, double g[VALUES])
{
    const uint64_t of = (uint64_t)(number * 4 + i) * 64;
    const double a = 1 + dice(1, of);
    double loss = 3 + 0.2 * dice(2, of);
    int j;
    for (j = 0; j < VALUES; j++) {
        const double v = sin(0.7 * j + 1), noise = 0.3 * dice(3, of + (uint64_t)j);
        g[j] = is_weight(j) ? a * v + noise : 0;
        if (!m->aloof) loss += g[j] * (double)m->weights[j];
    }
    return loss;
}

static int64_t examples(const linear *m, int64_t number) { return m->unequal ? 1 + number % 3 : 1; }

static int64_t linear_count(void *user, const void *batch) { return examples((linear *)user, *(const int64_t *)batch); }

static bool linear_gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    linear *m = (linear *)user;
    const int64_t number = *(const int64_t *)batch, n = examples(m, number);
    double g[VALUES];
    int64_t i;
    int j;
    *(grads ? &m->n_back : &m->n_forward) += 1;
    if (!grads && m->refuses) return false;
    for (*loss = 0, i = 0; i < n; i++) {
        *loss += example(m, number, i, g);
        for (j = 0; grads && j < VALUES; j++)
            if (is_weight(j)) grads[j] += (float)(factor * g[j]);
    }
    if (m->bad_at && number == m->bad_at) *loss = HUGE_VAL;
    return true;
}

static void linear_mark(void *user, void *position) { memcpy(position, &((linear *)user)->at, sizeof(int64_t)); }
static void linear_go_back(void *user, const void *position)
{
    linear *m = (linear *)user;
    memcpy(&m->at, position, sizeof m->at);
    m->bad_at = 0;
    m->n_gone++;
}

static void linear_make(linear *m)
{
    int j;
    memset(m, 0, sizeof *m);
    for (j = 0; j < VALUES; j++) m->weights[j] = (float)(0.4 * sin(0.7 * j + 1));
}

static hybrid_trainable linear_own(linear *m)
{
    hybrid_trainable own;
    memset(&own, 0, sizeof own);
    own.params = params;
    own.n_params = 2;
    own.weights = m->weights;
    own.n_weights = VALUES;
    own.user = m;
    own.count = linear_count;
    own.gradients = linear_gradients;
    return own;
}

/* still: weights stay where they are, or nearly. */
static hybrid_trainer *linear_trainer(linear *m, int32_t n_batches, bool still)
{
    const hybrid_trainable own = linear_own(m);
    hybrid_trainer_desc d;
    hybrid_trainer *t;
    memset(&d, 0, sizeof d);
    d.n_batches = n_batches;
    d.clip = still ? 0 : 1;
    t = own_trainer(&own, d);
    if (still) t->desc.rate = 1e-30f;
    return t;
}

static hybrid_predict_desc partial_desc(hybrid_trainer *t, linear *m, float fraction)
{
    hybrid_predict_desc d = own_predict_desc(t, HYBRID_PREDICT_D);
    d.fraction = fraction;
    d.mark = linear_mark;
    d.go_back = linear_go_back;
    d.user = m;
    return d;
}

static hybrid_predictor *partial_predictor(hybrid_trainer *t, linear *m, float fraction)
{
    const hybrid_predict_desc d = partial_desc(t, m, fraction);
    return own_predictor(&d);
}

/* The batches of the step that comes. */
static void linear_batches(linear *m, int n, int64_t numbers[MOST], hybrid_train_batch batches[MOST])
{
    int i;
    memset(batches, 0, sizeof *batches * (size_t)n);
    for (i = 0; i < n; i++) {
        numbers[i] = m->at++;
        batches[i].own = &numbers[i];
    }
}

static hybrid_result linear_step(hybrid_trainer *t, linear *m, hybrid_train_metrics *metrics, hybrid_error *e)
{
    int64_t numbers[MOST];
    hybrid_train_batch batches[MOST];
    linear_batches(m, t->desc.n_batches, numbers, batches);
    return hybrid_trainer_step(t, batches, metrics, e);
}

static void linear_run(hybrid_trainer *t, linear *m, int64_t until)
{
    hybrid_error e;
    while (hybrid_trainer_steps(t) < until)
        if (linear_step(t, m, NULL, &e)) {
            CHECK(false, "%s", e.message);
            return;
        }
}

/* ---- none is left out: plain training ---------------------------------------------------------------------------- */

static void test_whole(void)
{
    linear plain, all, half;
    hybrid_trainer *t, *u, *v;
    hybrid_predictor *p, *q;
    hybrid_predict_metrics m;
    TEST("a fraction of 1: the bits of plain training");
    linear_make(&plain);
    linear_make(&all);
    linear_make(&half);
    t = linear_trainer(&plain, 4, false);
    u = linear_trainer(&all, 4, false);
    v = linear_trainer(&half, 4, false);
    p = partial_predictor(u, &all, 1);
    q = partial_predictor(v, &half, 0);
    linear_run(t, &plain, 20);
    linear_run(u, &all, 20);
    linear_run(v, &half, 20);
    CHECK(!memcmp(plain.weights, half.weights, sizeof half.weights), "the warm-up");
    linear_run(t, &plain, 100);
    linear_run(u, &all, 100);
    linear_run(v, &half, 100);
    CHECK(!memcmp(plain.weights, all.weights, sizeof all.weights), "weights");
    CHECK(!memcmp(t->store.states, u->store.states, sizeof(float) * (size_t)t->store.n_states), "moments");
    CHECK(memcmp(plain.weights, half.weights, sizeof half.weights), "with a half of them they are others");
    hybrid_predictor_metrics(p, &m);
    CHECK(m.n_backward == 400 && !m.n_forward && !all.n_forward, "%lld and %lld", (long long)m.n_backward,
          (long long)m.n_forward);
    CHECK(m.loss_correlation > 0.5, "it has watched: %g", m.loss_correlation);
    hybrid_predictor_metrics(q, &m);
    CHECK(m.n_backward == 80 + 160 && m.n_forward == 160, "%lld and %lld", (long long)m.n_backward,
          (long long)m.n_forward);
    CHECK(half.n_back == 80 + 160 && half.n_forward == 160, "%lld and %lld calls", (long long)half.n_back,
          (long long)half.n_forward);
    CHECK(!m.n_moves && strstr(hybrid_predictor_verdict(q), "160 did not"), "%s", hybrid_predictor_verdict(q));
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
    hybrid_trainer_destroy(v);
}

/* ---- the formula ------------------------------------------------------------------------------------------------- */

/* All batches that went back, and the step that each was of. */
typedef struct pairs {
    int64_t n, n_of_step[PAIRS];
    double x[PAIRS], y[PAIRS];
    int64_t n_steps;
    double mean; /* of y, of late */
} pairs;

/* The slope, by the weights of the last batches: in words, step by step. */
static double pairs_slope(const pairs *s)
{
    double n = 0, n2 = 0, xx = 0, xy = 0, yy = 0, slope, error, same;
    int64_t i;
    for (i = 0; i < s->n; i++) {
        const double w = pow(1 - 1.0 / 512, (double)s->n_of_step[i]); /* batches that came after its step */
        n += w;
        n2 += w * w;
        xx += w * s->x[i] * s->x[i];
        xy += w * s->x[i] * s->y[i];
        yy += w * s->y[i] * s->y[i];
    }
    same = n2 > 0 ? n * n / n2 : 0;
    if (same < 16) return 0;
    slope = xy / xx;
    error = sqrt((yy - slope * xy) / n * same / (same - 2) * n2 / (n * xx));
    return fabs(slope) > 2 * error ? slope * (1 - 4 * error * error / (slope * slope)) : 0;
}

/* A step's batches that went back become pairs. */
static void pairs_add(pairs *s, const double *l, const double *y, int n, double mean)
{
    double sum = 0;
    int64_t i;
    int b;
    if (s->n_steps) {
        for (i = 0; i < s->n; i++) s->n_of_step[i] += n;
        for (b = 0; b < n; b++, s->n++) {
            s->n_of_step[s->n] = 0;
            s->x[s->n] = l[b] - mean;
            s->y[s->n] = y[b] - s->mean;
        }
    }
    s->n_steps++;
    for (b = 0; b < n; b++) sum += y[b];
    s->mean += (s->n_steps < 32 ? 1.0 / (double)s->n_steps : 1.0 / 32) * (sum / n - s->mean);
}

/* What the gradients of a step should be. moment: m, laid out as weights. */
static void formula(const linear *m, const int64_t *numbers, int n, int n_back, const double *moment, pairs *s,
                    double want[VALUES], double *k)
{
    double l[MOST], y[MOST], all = 0, all_n = 0, some = 0, some_n = 0, squares = 0;
    int b, j;
    memset(want, 0, sizeof *want * VALUES);
    for (j = 0; j < VALUES; j++) squares += moment[j] * moment[j];
    for (b = 0; b < n; b++) {
        const int64_t count = examples(m, numbers[b]);
        double sum[VALUES] = { 0 }, g[VALUES], dot = 0;
        int64_t i;
        l[b] = 0;
        for (i = 0; i < count; i++) {
            l[b] += example(m, numbers[b], i, g) / (double)count;
            for (j = 0; j < VALUES; j++) sum[j] += g[j];
        }
        all += l[b] * (double)count;
        all_n += (double)count;
        if (b >= n_back) continue;
        some += l[b] * (double)count;
        some_n += (double)count;
        for (j = 0; j < VALUES; j++) {
            want[j] += sum[j];
            dot += sum[j] / (double)count * moment[j];
        }
        y[b] = squares > 0 ? dot / squares : 0;
    }
    *k = pairs_slope(s);
    for (j = 0; j < VALUES; j++) want[j] = want[j] / some_n + *k * (all / all_n - some / some_n) * moment[j];
    if (squares > 0) pairs_add(s, l, y, n_back, all / all_n);
}

static void moments(const hybrid_trainer *t, double moment[VALUES])
{
    int i, j;
    memset(moment, 0, sizeof *moment * VALUES);
    for (i = 0; i < t->store.n_params; i++) {
        const hyb_param *p = &t->store.params[i];
        const float *m = hyb_store_state(&t->store, p, HYB_STATE_M);
        for (j = 0; j < (int)p->n; j++) moment[p->at + j] = (double)m[j];
    }
}

static double apart(const float *got, const double *want)
{
    double off = 0, all = 0;
    int j;
    for (j = 0; j < VALUES; j++) {
        const double d = is_weight(j) ? (double)got[j] - want[j] : 0;
        off += d * d;
        all += want[j] * want[j];
    }
    return sqrt(off / all);
}

static void test_formula(int n, float fraction, int n_back, bool unequal)
{
    static pairs s;
    linear m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    double worst = 0, worst_k = 0, k_last = 0, plain = 0;
    int step, n_varied = 0;
    TEST("gradients of steps that are split");
    memset(&s, 0, sizeof s);
    linear_make(&m);
    m.unequal = unequal;
    t = linear_trainer(&m, n, false);
    p = partial_predictor(t, &m, fraction);
    for (step = 0; step < 200; step++) {
        int64_t numbers[MOST];
        hybrid_train_batch batches[MOST];
        double moment[VALUES], want[VALUES], k, norm = 0;
        linear before = m;
        pairs copy = s;
        int j;
        linear_batches(&m, n, numbers, batches);
        moments(t, moment);
        k_last = p->variate.k;
        CHECK(!hybrid_trainer_step(t, batches, &metrics, &e), "%s", e.message);
        formula(&before, numbers, n, step < 20 ? n : n_back, moment, &s, want, &k);
        worst = HYB_MAX(worst, apart(t->store.grads, want));
        n_varied += k != 0;
        worst_k = HYB_MAX(worst_k, fabs(k - k_last) / HYB_MAX(fabs(k), 1.0));
        for (j = 0; j < VALUES; j++) norm += want[j] * want[j];
        CHECK(fabs(metrics.grad_norm / sqrt(norm) - 1) < 1e-6, "step %d: a norm of %g, not %g", step, metrics.grad_norm,
              sqrt(norm));
        for (j = 0; j < PAIRS; j++) copy.y[j] = 0; /* without the variate */
        formula(&before, numbers, n, step < 20 ? n : n_back, moment, &copy, want, &k);
        plain = HYB_MAX(plain, apart(t->store.grads, want));
    }
    CHECK(worst < 1e-6, "%d of %d: apart by %g", n_back, n, worst);
    CHECK(worst_k < 1e-4 && n_varied > 20, "%d of %d: k apart by %g, in %d steps", n_back, n, worst_k, n_varied);
    CHECK(plain > 0.01, "the variate counts for something: %g", plain);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- expectation and noise --------------------------------------------------------------------------------------- */

/* Weights stay where they are; over many steps, what is the mean of the gradients less those of all batches, in
 * standard errors, and what is the variance of gradients, with the variate and without it? */
static void test_expectation(int n, float fraction, int n_back, bool aloof)
{
    enum { FROM = 100, DRAWS = 3000 };
    static double sums[3][VALUES], squares[3][VALUES]; /* off the whole step's; with it, and without */
    double most = 0, with = 0, without = 0, noise = 0, told = 0;
    linear m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_predict_metrics metrics;
    hybrid_error e;
    int step, j, k;
    TEST("the expectation of gradients, and their noise");
    memset(sums, 0, sizeof sums);
    memset(squares, 0, sizeof squares);
    linear_make(&m);
    m.aloof = aloof;
    t = linear_trainer(&m, n, true);
    p = partial_predictor(t, &m, fraction);
    for (step = 0; step < FROM + DRAWS; step++) {
        int64_t numbers[MOST];
        hybrid_train_batch batches[MOST];
        double whole[VALUES] = { 0 }, some[VALUES] = { 0 }, g[VALUES];
        int b;
        linear_batches(&m, n, numbers, batches);
        for (b = 0; b < n; b++) {
            example(&m, numbers[b], 0, g);
            for (j = 0; j < VALUES; j++) whole[j] += g[j] / n;
            for (j = 0; j < VALUES && b < n_back; j++) some[j] += g[j] / n_back;
        }
        CHECK(!hybrid_trainer_step(t, batches, NULL, &e), "%s", e.message);
        told += step >= FROM ? t->noise.noise / DRAWS : 0;
        for (j = 0; j < VALUES && step >= FROM; j++) {
            const double got = is_weight(j) ? (double)t->store.grads[j] : 0;
            const double of[3] = { got - whole[j], got, some[j] };
            for (k = 0; k < 3; k++) {
                sums[k][j] += of[k];
                squares[k][j] += of[k] * of[k];
            }
        }
    }
    for (j = 0; j < VALUES; j++) {
        double variance[3];
        for (k = 0; k < 3; k++) variance[k] = (squares[k][j] - sums[k][j] * sums[k][j] / DRAWS) / (DRAWS - 1);
        if (!is_weight(j)) continue;
        most = HYB_MAX(most, fabs(sums[0][j] / DRAWS) / sqrt(variance[0] / DRAWS));
        with += variance[1];
        without += variance[2];
    }
    CHECK(most < 4, "a mean that is %g standard errors off", most); /* of 40: one in 400 runs, and dice never change */
    if (aloof)
        CHECK(with < 1.01 * without, "losses that tell nothing: a variance of %g, %g without them", with, without);
    else
        CHECK(with < 0.75 * without, "losses that tell much: a variance of %g, %g without them", with, without);
    hybrid_predictor_metrics(p, &metrics);
    CHECK(aloof ? fabs(metrics.variance_removed) < 0.03 : metrics.variance_removed > 0.7, "%g of the variance",
          metrics.variance_removed);
    noise = without * n_back; /* of a batch */
    if (n_back > 1) CHECK(fabs(told / noise - 1) < 0.1, "the noise of gradients: %g, not %g", told, noise);
    if (n_back > 1 && !aloof)
        CHECK(metrics.noise_removed > 0.4 && metrics.noise_removed < 1, "%g of the noise", metrics.noise_removed);
    printf("    %d of %d, %s: at most %.2f standard errors off; variance %.3f of that without, of all noise removed "
           "%.3f\n",
           n_back, n, aloof ? "aloof" : "telling", most, with / without, metrics.noise_removed);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- slices, and what is given up -------------------------------------------------------------------------------- */

static void test_slices(void)
{
    linear m, w;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_train_metrics a, b;
    hybrid_error e;
    int step, calls = 0;
    TEST("slices");
    linear_make(&m);
    linear_make(&w);
    t = linear_trainer(&m, 4, false);
    u = linear_trainer(&w, 4, false);
    p = partial_predictor(t, &m, 0.5f);
    q = partial_predictor(u, &w, 0.5f);
    for (step = 0; step < 90; step++) {
        int64_t numbers[MOST];
        hybrid_train_batch batches[MOST];
        bool done = false;
        int give_up = step % 4 == 1 ? step / 4 : -1;
        CHECK(!linear_step(t, &m, &a, &e), "%s", e.message);
        linear_batches(&w, 4, numbers, batches);
        while (!done) {
            CHECK(!hybrid_trainer_work(u, batches, 0, &done, &b, &e), "%s", e.message);
            calls++;
            if (!give_up-- && !done) hybrid_trainer_cancel(u);
        }
        CHECK(a.loss == b.loss && a.grad_norm == b.grad_norm && a.noise_scale == b.noise_scale, "step %d: %g and %g",
              step, a.grad_norm, b.grad_norm);
    }
    CHECK(calls > 90 * 10, "%d calls", calls);
    CHECK(!memcmp(m.weights, w.weights, sizeof m.weights), "weights");
    CHECK(!memcmp(&p->variate, &q->variate, sizeof p->variate), "what was learnt");
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

static void test_resume(void)
{
    static const char path[] = "build/partial.ckpt";
    linear whole, part, at;
    hybrid_trainer *t, *u, *v;
    hybrid_predictor *p, *q, *w;
    hybrid_error e;
    int step;
    TEST("checkpoints");
    linear_make(&whole);
    linear_make(&part);
    t = linear_trainer(&whole, 4, false);
    p = partial_predictor(t, &whole, 0.5f);
    linear_run(t, &whole, 90);
    u = linear_trainer(&part, 4, false);
    q = partial_predictor(u, &part, 0.5f);
    for (step = 15; step < 60; step += 5) {
        linear_run(u, &part, step);
        CHECK(!hybrid_trainer_save(u, path, &e), "%s", e.message);
        linear_make(&at);
        v = linear_trainer(&at, 4, false);
        w = partial_predictor(v, &at, 0.5f);
        CHECK(!hybrid_trainer_load(v, path, &e), "%s", e.message);
        CHECK(!memcmp(&w->variate, &q->variate, sizeof w->variate), "step %d: what was learnt", step);
        at.at = part.at;
        linear_run(v, &at, 90);
        CHECK(!memcmp(at.weights, whole.weights, sizeof at.weights), "gone on with from step %d", step);
        CHECK(!memcmp(&w->variate, &p->variate, sizeof w->variate), "step %d: what was learnt until then", step);
        hybrid_predictor_destroy(w);
        hybrid_trainer_destroy(v);
    }
    hybrid_predictor_destroy(q);
    q = partial_predictor(u, &part, 0.25f);
    CHECK(!hybrid_trainer_load(u, path, &e) && !q->variate.n_back, "another fraction is another predictor: %s",
          e.message);
    hybrid_predictor_destroy(q);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
    remove(path);
}

/* ---- what goes astray -------------------------------------------------------------------------------------------- */

static void test_back(void)
{
    linear m, twin;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_train_metrics metrics;
    hybrid_error e;
    int64_t forward;
    int i;
    TEST("going back");
    linear_make(&m);
    linear_make(&twin);
    t = linear_trainer(&m, 4, false);
    u = linear_trainer(&twin, 4, false);
    p = partial_predictor(t, &m, 0.5f);
    q = partial_predictor(u, &twin, 0.5f);
    linear_run(t, &m, 45);
    linear_run(u, &twin, 40); /* the end of a window */
    m.bad_at = m.at + 3;      /* a batch of which the loss alone is computed */
    CHECK(!linear_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(metrics.predict.event == HYBRID_PREDICT_WENT_BACK && metrics.step == 40, "step %lld, event %d",
          (long long)metrics.step, (int)metrics.predict.event);
    CHECK(m.n_gone == 1 && m.at == 160 && hybrid_trainer_steps(t) == 40, "place %lld", (long long)m.at);
    CHECK(!memcmp(m.weights, twin.weights, sizeof m.weights), "weights");
    CHECK(!memcmp(t->store.states, u->store.states, sizeof(float) * (size_t)t->store.n_states), "moments");
    forward = p->variate.n_forward;
    for (i = 0; i < 10; i++) CHECK(!linear_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(p->variate.n_forward == forward, "%lld batches did not go back in whole steps",
          (long long)(p->variate.n_forward - forward));
    linear_run(t, &m, 80);
    CHECK(p->variate.n_forward > forward, "then they are split again");
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static bool no_reduce(void *user, float *data, size_t count, void *stream)
{
    HYB_UNUSED(user);
    HYB_UNUSED(data);
    HYB_UNUSED(count);
    HYB_UNUSED(stream);
    return true;
}

static void check_refused(const hybrid_predict_desc *d, hybrid_result result, const char *why)
{
    hybrid_predictor *p;
    hybrid_error e;
    CHECK(hybrid_predictor_create(d, &p, &e) == result && !p && strstr(e.message, why), "%s: %s", why, e.message);
}

static void test_refused(void)
{
    linear m;
    hybrid_trainer *t;
    hybrid_trainable own;
    hybrid_trainer_desc td;
    hybrid_predict_desc d;
    hybrid_predictor *p;
    hybrid_error e;
    uint64_t bytes[2];
    TEST("what cannot be split");
    linear_make(&m);
    t = linear_trainer(&m, 1, false);
    d = partial_desc(t, &m, 0.5f);
    check_refused(&d, HYBRID_ERROR_UNSUPPORTED, "n_batches");
    hybrid_trainer_destroy(t);
    own = linear_own(&m);
    memset(&td, 0, sizeof td);
    td.own = &own;
    td.n_batches = 2;
    td.optimizer = HYBRID_OPTIMIZER_SGD;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    d = partial_desc(t, &m, 0.5f);
    check_refused(&d, HYBRID_ERROR_UNSUPPORTED, "first moment");
    hybrid_trainer_destroy(t);
    td.momentum = 0.9f;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    d = partial_desc(t, &m, 0.5f);
    CHECK(!hybrid_predictor_create(&d, &p, &e), "with momentum: %s", e.message);
    linear_run(t, &m, 60);
    CHECK(p->variate.n_forward == 40, "%lld", (long long)p->variate.n_forward);
    CHECK(!hybrid_trainer_set_batches(t, 1, &e), "%s", e.message);
    linear_run(t, &m, 62);
    CHECK(p->variate.n_forward == 40, "a step of one batch goes back: %lld", (long long)p->variate.n_forward);
    CHECK(!hybrid_trainer_set_batches(t, 2, &e), "%s", e.message);
    m.refuses = true;
    CHECK(linear_step(t, &m, NULL, &e) == HYBRID_ERROR_CANCELLED && strstr(e.message, "gradients returned false"), "%s",
          e.message);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    td.all_reduce = no_reduce;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    d = partial_desc(t, &m, 0.5f);
    check_refused(&d, HYBRID_ERROR_UNSUPPORTED, "all_reduce");
    hybrid_trainer_destroy(t);
    linear_make(&m);
    t = linear_trainer(&m, 2, false);
    d = partial_desc(t, &m, -0.1f);
    check_refused(&d, HYBRID_ERROR_INVALID, "fraction is -0.1");
    d.fraction = 1.5f;
    check_refused(&d, HYBRID_ERROR_INVALID, "fraction is 1.5");
    d.fraction = 0;
    d.placebo = HYBRID_PLACEBO_MIRROR;
    check_refused(&d, HYBRID_ERROR_UNSUPPORTED, "placebos");
    d.placebo = HYBRID_PLACEBO_NONE;
    CHECK(!hybrid_predictor_plan(&d, &bytes[0], &e), "%s", e.message);
    d.mode = HYBRID_PREDICT_OFF;
    CHECK(!hybrid_predictor_plan(&d, &bytes[1], &e) && bytes[0] == bytes[1], "it takes no memory: %llu and %llu",
          (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
    CHECK(!hybrid_predict_set(&d, "mode", "D", &e) && d.mode == HYBRID_PREDICT_D, "by name: %s", e.message);
    CHECK(!hybrid_predict_set(&d, "fraction", "0.25", &e) && d.fraction == 0.25f, "by name: %s", e.message);
    hybrid_trainer_destroy(t);
}

/* ---- a transformer ----------------------------------------------------------------------------------------------- */

typedef struct tiny {
    hybrid_model *model;
    hybrid_trainer *t;
    hybrid_predictor *p;
} tiny;

enum { SEQS = 2, CTX = 8, ROWS = SEQS * CTX };

static void tiny_open(tiny *r, hybrid_type format)
{
    hybrid_model_desc md;
    hybrid_trainer_desc d;
    hybrid_predict_desc pd;
    hybrid_error e;
    memset(&md, 0, sizeof md);
    memset(&d, 0, sizeof d);
    md.path = "tests/oracle/data/models/gpt2.gguf";
    md.trainable = true;
    CHECK(!hybrid_model_load(NULL, &md, &r->model, &e), "%s", e.message);
    d.model = r->model;
    d.n_seq = SEQS;
    d.n_ctx = CTX;
    d.n_batches = 4;
    d.format = format;
    d.rate = 1e-3f;
    CHECK(!hybrid_trainer_create(&d, &r->t, &e), "%s", e.message);
    pd = own_predict_desc(r->t, HYBRID_PREDICT_D);
    pd.warmup_steps = 5;
    r->p = own_predictor(&pd);
}

static void tiny_close(tiny *r)
{
    hybrid_predictor_destroy(r->p);
    hybrid_trainer_destroy(r->t);
    hybrid_model_destroy(r->model);
}

static void tiny_step(tiny *r, hybrid_train_metrics *metrics, bool empty)
{
    static int32_t ids[4][ROWS], targets[4][ROWS];
    hybrid_train_batch batches[4];
    hybrid_error e;
    int b, i;
    memset(batches, 0, sizeof batches);
    for (b = 0; b < 4; b++) {
        for (i = 0; i < ROWS; i++) {
            const uint64_t of = (uint64_t)((r->t->step * 4 + b) * ROWS + i);
            ids[b][i] = (int32_t)((dice(7, of) * 0.5 + 0.5) * (r->model->hp.n_vocab - 1));
            targets[b][i] = empty && b < 2 ? -1 : (ids[b][i] * 5 + 3) % r->model->hp.n_vocab;
        }
        batches[b].ids = ids[b];
        batches[b].targets = targets[b];
    }
    CHECK(!hybrid_trainer_step(r->t, batches, metrics, &e), "%s", e.message);
}

/* In fp16 gradients have a factor: what is learnt of them has not. */
static void test_formats(void)
{
    tiny r[2];
    hybrid_train_metrics m[2];
    hyb_variate before;
    double usual;
    int i;
    TEST("fp16, and batches without targets");
    tiny_open(&r[0], HYBRID_TYPE_F32);
    tiny_open(&r[1], HYBRID_TYPE_F16);
    for (i = 0; i < 40; i++) {
        tiny_step(&r[0], &m[0], false);
        tiny_step(&r[1], &m[1], false);
        CHECK(fabs(m[0].loss - m[1].loss) < 0.01 && fabs(m[0].grad_norm / m[1].grad_norm - 1) < 0.05,
              "step %d: %g, %g and %g, %g", i, m[0].loss, m[0].grad_norm, m[1].loss, m[1].grad_norm);
    }
    usual = m[0].grad_norm;
    CHECK(m[1].loss_scale > 1000, "a factor of %g", m[1].loss_scale);
    CHECK(fabs(r[0].p->variate.mean / r[1].p->variate.mean - 1) < 0.05, "along the moment: %g and %g",
          r[0].p->variate.mean, r[1].p->variate.mean);
    CHECK(fabs(r[0].p->variate.xy / r[1].p->variate.xy - 1) < 0.1, "what losses tell: %g and %g", r[0].p->variate.xy,
          r[1].p->variate.xy);
    r[0].p->variate.k = r[1].p->variate.k = 50; /* by which the variate is longer than the rest */
    tiny_step(&r[0], &m[0], false);
    tiny_step(&r[1], &m[1], false);
    CHECK(m[0].grad_norm > 1.5 * usual && fabs(m[0].grad_norm / m[1].grad_norm - 1) < 0.05,
          "with the variate %g, and %g, without %g", m[0].grad_norm, m[1].grad_norm, usual);
    before = r[1].p->variate;
    r[1].t->format.scale = 1e30;
    tiny_step(&r[1], &m[1], false);
    CHECK(m[1].skipped && !memcmp(&before, &r[1].p->variate, sizeof before), "a step that is skipped teaches nothing");
    /* the first batches have no targets: those after them go back */
    before = r[0].p->variate;
    tiny_step(&r[0], &m[0], true);
    CHECK(m[0].n_tokens == 2 * ROWS && m[0].grad_norm > 0, "%lld targets", (long long)m[0].n_tokens);
    CHECK(r[0].p->variate.n_back == before.n_back + 1 && r[0].p->variate.n_forward == before.n_forward + 1,
          "%lld and %lld", (long long)r[0].p->variate.n_back, (long long)r[0].p->variate.n_forward);
    tiny_close(&r[0]);
    tiny_close(&r[1]);
}

int main(void)
{
    test_whole();
    test_formula(4, 0.5f, 2, false);
    test_formula(2, 0.5f, 1, false);
    test_formula(5, 0.3f, 2, true);
    test_formula(4, 0.01f, 1, true);
    test_expectation(4, 0.25f, 1, false);
    test_expectation(4, 0.5f, 2, false);
    test_expectation(4, 0.5f, 2, true);
    test_slices();
    test_resume();
    test_back();
    test_refused();
    test_formats();
    return test_end();
}
