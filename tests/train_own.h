/* For test_train.c: somebody else's model (api/trainable.h) against steps computed here; its checkpoints and refusals;
 * the noise of gradients against its definition; metrics. */
#ifndef TRAIN_OWN_H
#define TRAIN_OWN_H

/* ---- a model of three lines: y (3) = W (3, 4) x + b, loss |y - t|^2 / 2 ------------------------------------------ */

enum { OWN_W = 2, OWN_B = 15, OWN_WEIGHTS = 20 }; /* with gaps, which nobody touches */

static const hybrid_trainable_param own_params[] = { { "w", OWN_W, 3, 4, false }, { "b", OWN_B, 1, 3, false } };

typedef struct own_batch {
    int n;
    float x[8][4], t[8][3];
} own_batch;

typedef struct own_model {
    float weights[OWN_WEIGHTS];
    bool fails;
    hybrid_trainer *calls; /* from within its function */
} own_model;

static int64_t own_count(void *user, const void *batch)
{
    (void)user;
    return ((const own_batch *)batch)->n;
}

static bool own_gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    own_model *m = (own_model *)user;
    const own_batch *b = (const own_batch *)batch;
    int i, r, c;
    hybrid_error e;
    if (m->calls)
        CHECK(hybrid_trainer_step(m->calls, NULL, NULL, &e) && hybrid_trainer_save(m->calls, "none", &e), "inside");
    *loss = 0;
    for (i = 0; i < b->n; i++)
        for (r = 0; r < 3; r++) {
            double y = m->weights[OWN_B + r];
            for (c = 0; c < 4; c++) y += (double)m->weights[OWN_W + r * 4 + c] * b->x[i][c];
            y -= b->t[i][r];
            *loss += y * y / 2;
            for (c = 0; grads && c < 4; c++) grads[OWN_W + r * 4 + c] += (float)(factor * y * b->x[i][c]);
            if (grads) grads[OWN_B + r] += (float)(factor * y);
        }
    return !m->fails;
}

static void own_fill(own_model *m, own_batch *b, int n_batches)
{
    uint32_t random = 7;
    int k, i, j;
    memset(m, 0, sizeof *m);
    for (i = 0; i < OWN_WEIGHTS; i++) m->weights[i] = (float)((random = random * 1664525u + 1013904223u) >> 8) / 3e7f;
    for (k = 0; k < n_batches; k++) {
        b[k].n = 3 + 2 * k;
        for (i = 0; i < 8; i++)
            for (j = 0; j < 7; j++) {
                const float x = (float)((random = random * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
                *(j < 4 ? &b[k].x[i][j] : &b[k].t[i][j - 4]) = x + (j < 4 ? 0.5f : 0);
            }
    }
}

static hybrid_trainable own_of(own_model *m)
{
    hybrid_trainable own;
    memset(&own, 0, sizeof own);
    own.params = own_params;
    own.n_params = 2;
    own.weights = m->weights;
    own.n_weights = OWN_WEIGHTS;
    own.user = m;
    own.count = own_count;
    own.gradients = own_gradients;
    return own;
}

static hybrid_trainer *own_trainer(own_model *m, hybrid_trainer_desc d)
{
    const hybrid_trainable own = own_of(m);
    hybrid_trainer *t = NULL;
    hybrid_error e;
    d.own = &own;
    CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
    return t;
}

static hybrid_trainer_desc own_desc(hybrid_optimizer optimizer)
{
    hybrid_trainer_desc d = lesson_desc();
    d.optimizer = optimizer;
    d.n_batches = 2;
    d.rate = 0.1f;
    d.n_steps = 40;
    return d;
}

static double own_squares(const float *g)
{
    double sum = 0;
    int i;
    for (i = 0; i < 12; i++) sum += (double)g[OWN_W + i] * (double)g[OWN_W + i];
    for (i = 0; i < 3; i++) sum += (double)g[OWN_B + i] * (double)g[OWN_B + i];
    return sum;
}

/* Gradient descent over two batches, all of it computed here, too. */
static void test_own_steps(void)
{
    own_model m, twin;
    own_batch b[2];
    hybrid_train_batch batches[2];
    hybrid_train_metrics metrics;
    hybrid_train_plan plan;
    hybrid_trainer *t;
    hybrid_trainer_desc d = own_desc(HYBRID_OPTIMIZER_SGD);
    hybrid_trainable own;
    hybrid_error e;
    double gradient = 0, noise = 0;
    int step, i;
    TEST("somebody else's model");
    own_fill(&m, b, 2);
    twin = m;
    memset(batches, 0, sizeof batches);
    batches[0].own = &b[0];
    batches[1].own = &b[1];
    own = own_of(&m);
    d.own = &own;
    CHECK(!hybrid_trainer_plan(&d, &plan, &e), "%s", e.message);
    if (!(t = own_trainer(&m, d))) return;
    for (step = 0; step < 3; step++) {
        float g[OWN_WEIGHTS] = { 0 }, first[OWN_WEIGHTS] = { 0 };
        double loss[2], left, small, big, evaluated = 0;
        own_gradients(&twin, &b[0], 1.0 / 3, first, &loss[0]);
        own_gradients(&twin, &b[0], 1.0 / 8, g, &loss[0]);
        own_gradients(&twin, &b[1], 1.0 / 8, g, &loss[1]);
        CHECK(!hybrid_trainer_evaluate(t, batches, &evaluated, &e), "%s", e.message);
        CHECK(fabs(evaluated - loss[0] / 3) < 1e-6, "evaluated: %g, not %g", evaluated, loss[0] / 3);
        CHECK(!hybrid_trainer_step(t, batches, &metrics, &e), "%s", e.message);
        for (i = 0; i < OWN_WEIGHTS; i++) twin.weights[i] -= 0.1f * g[i];
        for (i = 0; i < OWN_WEIGHTS; i++)
            CHECK(fabs((double)twin.weights[i] - (double)m.weights[i]) < 1e-6, "step %d, weight %d: %g, not %g", step,
                  i, (double)m.weights[i], (double)twin.weights[i]);
        small = own_squares(first);
        big = own_squares(g);
        gradient = 0.95 * gradient + 0.05 * (8 * big - 3 * small) / 5;
        noise = 0.95 * noise + 0.05 * (small - big) / (1.0 / 3 - 1.0 / 8);
        CHECK(fabs(metrics.loss - (loss[0] + loss[1]) / 8) < 1e-6, "loss %g", metrics.loss);
        CHECK(fabs(metrics.grad_norm - sqrt(big)) < 1e-6, "norm %g, not %g", metrics.grad_norm, sqrt(big));
        CHECK(metrics.n_tokens == 8 && metrics.step == step + 1, "%d examples", (int)metrics.n_tokens);
        CHECK(fabs(metrics.noise_scale - (gradient > 0 && noise > 0 ? noise / gradient : 0)) <=
                  1e-4 * metrics.noise_scale,
              "noise %g, not %g", metrics.noise_scale, noise / gradient);
        CHECK(metrics.bytes == plan.total && plan.total > 2 * OWN_WEIGHTS, "%llu bytes, planned %llu",
              (unsigned long long)metrics.bytes, (unsigned long long)plan.total);
        left = metrics.seconds_left / (40 - metrics.step);
        CHECK(metrics.seconds > 0 && left > 0 && (step || fabs(left - metrics.seconds) < 1e-6 * left), "%g s left",
              metrics.seconds_left);
        CHECK(fabs(metrics.tokens_per_second * metrics.seconds - 8) < 1e-6, "%g a second", metrics.tokens_per_second);
    }
    hybrid_trainer_destroy(t);
}

/* Batches of a transformer: the definition, from the gradients of each by itself. */
static bool test_noise(const char *name)
{
    lesson l;
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch batches[2];
    hybrid_train_metrics one, both;
    hybrid_error e;
    double small, big, gradient, noise;
    d.n_seq = 1;
    if (!lesson_open(&l, name, NULL, 2, d)) return false;
    TEST("noise of gradients");
    CHECK(!hybrid_trainer_step(l.t, &l.batch, &one, &e) && one.noise_scale == 0, "%g of one batch", one.noise_scale);
    lesson_close(&l);
    d.n_batches = 2;
    if (!lesson_open(&l, name, NULL, 2, d)) return false;
    memset(batches, 0, sizeof batches);
    batches[0] = batches[1] = l.batch;
    batches[1].ids += LESSON_T;
    batches[1].targets += LESSON_T;
    if (batches[1].weights) batches[1].weights += LESSON_T;
    CHECK(!hybrid_trainer_step(l.t, batches, &both, &e), "%s", e.message);
    small = one.grad_norm * one.grad_norm;
    big = both.grad_norm * both.grad_norm;
    gradient = ((double)both.n_tokens * big - (double)one.n_tokens * small) / (double)(both.n_tokens - one.n_tokens);
    noise = (small - big) / (1.0 / (double)one.n_tokens - 1.0 / (double)both.n_tokens);
    if (!(gradient > 0) || !(noise > 0)) gradient = HUGE_VAL; /* two batches say little: it is not known */
    CHECK(fabs(both.noise_scale - noise / gradient) <= 1e-5 * both.noise_scale, "%s: %g, not %g", name,
          both.noise_scale, noise / gradient);
    lesson_close(&l);
    return both.noise_scale > 0;
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

static void test_own_checkpoint(hybrid_optimizer optimizer)
{
    static const char path[] = "build/own.ckpt", other[] = "build/other.ckpt";
    own_model straight, half;
    own_batch b[2];
    hybrid_train_batch batches[2];
    hybrid_train_metrics of_straight, of_half;
    hybrid_trainer_desc d = own_desc(optimizer);
    hybrid_trainer *t;
    hybrid_trainable own;
    hybrid_error e;
    lesson l;
    int i;
    TEST("checkpoints of somebody else's model");
    d.ema = 0.9f;
    d.momentum = 0.9f;
    memset(batches, 0, sizeof batches);
    batches[0].own = &b[0];
    batches[1].own = &b[1];
    own_fill(&straight, b, 2);
    half = straight;
    if (!(t = own_trainer(&straight, d))) return;
    for (i = 0; i < 4; i++) CHECK(!hybrid_trainer_step(t, batches, &of_straight, &e), "%s", e.message);
    hybrid_trainer_destroy(t);
    if (!(t = own_trainer(&half, d))) return;
    for (i = 0; i < 2; i++) CHECK(!hybrid_trainer_step(t, batches, NULL, &e), "%s", e.message);
    CHECK(!hybrid_trainer_save(t, path, &e), "%s", e.message);
    hybrid_trainer_destroy(t);
    own_fill(&half, b, 2);
    half.weights[OWN_W] = 100;
    if (!(t = own_trainer(&half, d))) return;
    CHECK(!hybrid_trainer_load(t, path, &e), "%s", e.message);
    for (i = 0; i < 2; i++) CHECK(!hybrid_trainer_step(t, batches, &of_half, &e), "%s", e.message);
    CHECK(!memcmp(half.weights, straight.weights, sizeof half.weights), "4 steps are not twice 2");
    CHECK(of_half.noise_scale == of_straight.noise_scale && of_half.step == 4, "noise %g, not %g", of_half.noise_scale,
          of_straight.noise_scale);
    CHECK(!hybrid_trainer_swap_ema(t, &e), "%s", e.message);
    CHECK(memcmp(half.weights, straight.weights, sizeof half.weights), "the average is something else");
    CHECK(!hybrid_trainer_swap_ema(t, &e) && !memcmp(half.weights, straight.weights, sizeof half.weights), "back");
    CHECK(hybrid_trainer_export(t, other, HYBRID_MIX_F32, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "owner"),
          "an export: %s", e.message);
    half.weights[OWN_B] = (float)NAN;
    CHECK(hybrid_trainer_save(t, other, &e) == HYBRID_ERROR_NUMERIC && strstr(e.message, "'b'"), "%s", e.message);
    hybrid_trainer_destroy(t);
    own = own_of(&half); /* of another kind; a transformer, here and there */
    own.name = "others";
    d.own = &own;
    CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
    CHECK(hybrid_trainer_load(t, path, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "of 'own', not of 'others'"),
          "%s", e.message);
    d = lesson_desc();
    d.optimizer = optimizer;
    if (!lesson_open(&l, "gpt2", NULL, 1, d)) return;
    CHECK(hybrid_trainer_load(l.t, path, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "not of 'a transformer'"),
          "%s", e.message);
    CHECK(!hybrid_trainer_save(l.t, other, &e), "%s", e.message);
    CHECK(hybrid_trainer_load(t, other, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "transformer"), "%s",
          e.message);
    lesson_close(&l);
    hybrid_trainer_destroy(t);
    remove(path);
    remove(other);
}

/* An adapter after n steps, the last of which come after a checkpoint was loaded into a new adapter. Freed by the
 * caller.
 */
static float *adapter_after(const char *path, int n_before, int n, size_t *n_values)
{
    lesson l;
    hybrid_adapter *a = NULL;
    hybrid_trainer_desc d = lesson_desc();
    hybrid_error e;
    float *values = NULL;
    int i;
    if (!lesson_open(&l, "llama", NULL, 2, d)) return NULL;
    hybrid_trainer_destroy(l.t);
    l.t = NULL;
    CHECK(!hybrid_adapter_create(l.m, NULL, &a, &e), "%s", e.message);
    d.model = NULL;
    d.adapter = a;
    d.n_seq = 2;
    d.n_ctx = LESSON_T;
    d.ema = 0.5f;
    CHECK(!hybrid_trainer_create(&d, &l.t, &e), "%s", e.message);
    if (!n_before) CHECK(!hybrid_trainer_load(l.t, path, &e), "%s", e.message);
    for (i = 0; i < n; i++) {
        CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
        if (i + 1 == n_before) CHECK(!hybrid_trainer_save(l.t, path, &e), "%s", e.message);
    }
    *n_values = (size_t)l.t->store.n_values;
    values = (float *)malloc(*n_values * sizeof *values);
    memcpy(values, l.t->store.weights, *n_values * sizeof *values);
    CHECK(hybrid_trainer_steps(l.t) == 4, "%d steps", (int)hybrid_trainer_steps(l.t));
    hybrid_trainer_destroy(l.t);
    hybrid_adapter_destroy(a);
    l.t = NULL;
    lesson_close(&l);
    return values;
}

static void test_adapter_checkpoint(void)
{
    static const char path[] = "build/adapter.ckpt";
    size_t n = 0, m = 0;
    float *straight = adapter_after(path, 2, 4, &n), *resumed = adapter_after(path, 0, 2, &m);
    TEST("checkpoints of adapters");
    CHECK(straight && resumed && n == m && !memcmp(straight, resumed, n * sizeof *straight), "4 steps are not twice 2");
    free(straight);
    free(resumed);
    remove(path);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void own_refused(const hybrid_trainable *own, const char *word)
{
    hybrid_trainer_desc d = own_desc(HYBRID_OPTIMIZER_ADAMW);
    hybrid_trainer *t = NULL;
    hybrid_error e;
    d.own = own;
    e.message[0] = 0;
    CHECK(hybrid_trainer_create(&d, &t, &e) == HYBRID_ERROR_INVALID && !t, "'%s' was not refused", word);
    CHECK(strstr(e.message, word), "'%s': %s", word, e.message);
    hybrid_trainer_destroy(t);
}

static void test_own_refusals(void)
{
    own_model m, before;
    own_batch b[2];
    hybrid_trainable own;
    hybrid_trainable_param p[2];
    hybrid_train_batch batches[2];
    hybrid_trainer *t;
    hybrid_error e;
    TEST("what is refused of somebody else's model");
    own_fill(&m, b, 2);
#define REFUSES(change, word) \
    do { \
        own = own_of(&m); \
        memcpy(p, own_params, sizeof p); \
        own.params = p; \
        change; \
        own_refused(&own, word); \
    } while (0)
    REFUSES(own.params = NULL, "params");
    REFUSES(own.n_params = 0, "params");
    REFUSES(own.weights = NULL, "weights");
    REFUSES(own.gradients = NULL, "gradients");
    REFUSES(p[1].name = NULL, "name of parameter 1");
    REFUSES(p[1].name = "", "name of parameter 1");
    REFUSES(p[1].name = "a name of forty-nine bytes, which is one too many.", "name of parameter 1");
    REFUSES(p[1].name = "w", "two parameters 'w'");
    REFUSES(p[1].at = 13, "in common");
    REFUSES(p[1].at = 18, "does not lie");
    REFUSES(p[1].at = SIZE_MAX - 1, "does not lie");
    REFUSES(p[0].rows = INT64_MAX, "does not lie");
    REFUSES(p[0].cols = 0, "does not lie");
    REFUSES(p[0].rows = -3, "does not lie");
#undef REFUSES
    memset(batches, 0, sizeof batches);
    batches[0].own = &b[0];
    batches[1].own = &b[1];
    if (!(t = own_trainer(&m, own_desc(HYBRID_OPTIMIZER_ADAMW)))) return;
    before = m;
    m.fails = true;
    CHECK(hybrid_trainer_step(t, batches, NULL, &e) == HYBRID_ERROR_CANCELLED && strstr(e.message, "gradients"), "%s",
          e.message);
    m.fails = false;
    b[1].n = 0;
    CHECK(hybrid_trainer_step(t, batches, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "0 examples"), "%s",
          e.message);
    b[1].n = 5;
    b[1].x[2][2] = HUGE_VALF;
    CHECK(hybrid_trainer_step(t, batches, NULL, &e) == HYBRID_ERROR_NUMERIC, "%s", e.message);
    CHECK(!memcmp(before.weights, m.weights, sizeof m.weights) && !hybrid_trainer_steps(t), "the weights were changed");
    b[1].x[2][2] = 0;
    m.calls = t;
    CHECK(!hybrid_trainer_step(t, batches, NULL, &e), "%s", e.message);
    hybrid_trainer_destroy(t);
}

/* A trainer takes what its plan says, to the byte; allocations that fail leave nothing behind. */
static void test_own_memory(hybrid_optimizer optimizer)
{
    hybrid_runtime_desc rd;
    hybrid_trainer_desc d = own_desc(optimizer);
    hybrid_train_plan plan;
    hybrid_runtime *rt = NULL;
    hybrid_trainer *t = NULL;
    hybrid_trainable own;
    own_model m;
    own_batch b[2];
    hybrid_error e;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    ration given = { 0, 0, 0 };
    size_t before;
    TEST("memory of somebody else's model");
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = ration_alloc;
    rd.allocator.free = ration_free;
    rd.allocator.user = &given;
    rd.n_threads = 1;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    own_fill(&m, b, 2);
    own = own_of(&m);
    own.runtime = rt;
    d.own = &own;
    d.ema = 0.9f;
    CHECK(!hybrid_trainer_plan(&d, &plan, &e), "%s", e.message);
    before = given.live;
    for (given.fail_at = 1; r == HYBRID_ERROR_MEMORY && given.fail_at < 100; given.fail_at++) {
        given.calls = 0;
        r = hybrid_trainer_create(&d, &t, &e);
        if (r) CHECK(given.live == before, "allocation %ld: %ld bytes leaked", given.fail_at, (long)given.live);
    }
    CHECK(!r && given.fail_at > 5, "allocation %ld: %s", given.fail_at, r ? e.message : "");
    CHECK(given.live - before == plan.total, "%llu bytes, planned %llu", (unsigned long long)(given.live - before),
          (unsigned long long)plan.total);
    hybrid_trainer_destroy(t);
    given.fail_at = 0;
    d.max_bytes = (size_t)plan.total;
    CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
    hybrid_trainer_destroy(t);
    d.max_bytes--;
    CHECK(hybrid_trainer_create(&d, &t, &e) == HYBRID_ERROR_LIMIT && strstr(e.message, "max_bytes"), "a byte less");
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes leaked in the end", (long)given.live);
}

static void test_own(void)
{
    static const char *const names[] = { "gpt2", "llama", "gemma3", "qwen3", "smollm", "qwen2-untied" };
    int n_known = 0;
    size_t i;
    test_own_steps();
    for (i = 0; i < HYB_COUNT(names); i++) n_known += test_noise(names[i]);
    CHECK(n_known > 1, "the noise of %d gradients is known", n_known);
    test_own_checkpoint(HYBRID_OPTIMIZER_ADAMW);
    test_own_checkpoint(HYBRID_OPTIMIZER_SGD);
    test_own_checkpoint(HYBRID_OPTIMIZER_MUON);
    test_adapter_checkpoint();
    test_own_memory(HYBRID_OPTIMIZER_ADAMW);
    test_own_memory(HYBRID_OPTIMIZER_MUON);
    test_own_refusals();
}
#endif
