/* For test_train.c: tiny models of all architectures against transformers' gradients (oracle/make_train.py), the same
 * gradients for any threads, instruction set and cut into batches, and bad days: refusals, failing memory. */
#ifndef TRAIN_MODELS_H
#define TRAIN_MODELS_H
#include <math.h>

enum { LESSON_T = 56, LESSON_STEP = 7919 };

/* clang-format off */
static const char *const lesson_names[] = {
    "gpt2", "llama", "llama-biases", "llama-rope-freqs", "llama-rope-linear", "smollm", "mistral", "qwen2",
    "qwen2-untied", "qwen3", "gemma2", "gemma3", "gemma3-rope-linear", "phi3", "phi3-window", "phi3-longrope",
    "phi3-shortrope", "openelm", "llama-layers", "qwen3-layers", "lfm2", "lfm2-conv",
    "mixtral", "qwen2moe", "qwen3moe", "rwkv7", "arwkv7",
};
/* clang-format on */

/* ---- a model, its trainer, and a batch --------------------------------------------------------------------------- */

typedef struct lesson {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_trainer *t;
    int32_t ids[2 * LESSON_T], targets[2 * LESSON_T];
    float weights[2 * LESSON_T];
    hybrid_train_batch batch;
} lesson;

static hybrid_gguf *lesson_file;

static const float *lesson_tensor(const char *name, char between, const char *what, int64_t *n)
{
    const hybrid_gguf_tensor *t;
    char key[128];
    snprintf(key, sizeof key, "%s%c%s", name, between, what);
    t = hybrid_gguf_find_tensor(lesson_file, key);
    if (n) *n = t ? (int64_t)(t->ne[0] * t->ne[1]) : 0;
    return t ? (const float *)t->data : NULL;
}

static hybrid_runtime *lesson_runtime(const char *isa, int n_threads)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.isa = isa;
    d.n_threads = n_threads;
    CHECK(!hybrid_runtime_create(&d, &rt, &e), "%s", e.message);
    return rt;
}

static hybrid_model *lesson_model(hybrid_runtime *rt, const char *name, bool trainable)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    char path[256];
    snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", name);
    memset(&d, 0, sizeof d);
    d.path = path;
    d.trainable = trainable;
    CHECK(!hybrid_model_load(rt, &d, &m, &e), "%s: %s", name, e.message);
    return m;
}

/* The batch of a model in the reference. */
static bool lesson_batch(lesson *l, const char *name)
{
    const float *ids = lesson_tensor(name, '.', "ids", NULL), *targets = lesson_tensor(name, '.', "targets", NULL);
    const float *weights = lesson_tensor(name, '.', "weights", NULL);
    int i;
    TEST(name);
    memset(l, 0, sizeof *l);
    CHECK(ids, "no reference of %s", name);
    CHECK(targets, "no reference of %s", name);
    if (!ids || !targets) return false;
    for (i = 0; i < 2 * LESSON_T; i++) {
        l->ids[i] = (int32_t)ids[i];
        l->targets[i] = (int32_t)targets[i];
        l->weights[i] = weights ? weights[i] : 1;
    }
    l->batch.ids = l->ids;
    l->batch.targets = l->targets;
    if (weights) l->batch.weights = l->weights;
    return true;
}

static bool lesson_open(lesson *l, const char *name, const char *isa, int n_threads, hybrid_trainer_desc d)
{
    hybrid_error e;
    if (!lesson_batch(l, name)) return false;
    l->rt = lesson_runtime(isa, n_threads);
    l->m = lesson_model(l->rt, name, true);
    d.model = l->m;
    if (!d.n_seq) d.n_seq = 2;
    if (!d.n_ctx) d.n_ctx = LESSON_T;
    if (!l->m) return false;
    CHECK(!hybrid_trainer_create(&d, &l->t, &e), "%s", e.message);
    return l->t != NULL;
}

static void lesson_close(lesson *l)
{
    hybrid_trainer_destroy(l->t);
    hybrid_model_destroy(l->m);
    hybrid_runtime_destroy(l->rt);
}

static hybrid_trainer_desc lesson_desc(void)
{
    hybrid_trainer_desc d;
    memset(&d, 0, sizeof d);
    return d;
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* The gradients g of a tensor against the reference: values, norm, largest, and a sum that sees every value. */
static void lesson_compare(const char *name, const hyb_param *p, const float *g, double *worst)
{
    char what[96];
    const float *ref;
    double square = 0, largest = 0, sum = 0, d = 0, scale;
    int64_t n, i;
    snprintf(what, sizeof what, "%.*s", (int)p->name.size, p->name.data);
    ref = lesson_tensor(name, '/', what, &n);
    CHECK(ref, "%s: no reference of %s", name, what);
    if (!ref) return;
    scale = (double)ref[1];
    for (i = 0; i < p->n; i++) {
        square += (double)g[i] * (double)g[i];
        largest = HYB_MAX(largest, fabs((double)g[i]));
        sum += (double)g[i] * cos((double)i);
    }
    for (i = 0; i + 3 < n; i++) {
        const double off = fabs((double)g[i * LESSON_STEP % p->n] - (double)ref[3 + i]);
        d = off <= d ? d : off; /* NaN stays */
    }
    CHECK(d <= 1e-4 * scale, "%s: gradients of %s are %.1e apart", name, what, d / scale);
    CHECK(fabs(largest - scale) <= 1e-4 * scale, "%s: the largest gradient of %s is %g, not %g", name, what, largest,
          scale);
    CHECK(fabs(sqrt(square) - (double)ref[0]) <= 1e-4 * (double)ref[0],
          "%s: the norm of the gradient of %s is %g, not %g", name, what, sqrt(square), (double)ref[0]);
    CHECK(fabs(sum - (double)ref[2]) <= 1e-4 * (double)ref[0], "%s: a sum over the gradient of %s is %g, not %g", name,
          what, sum, (double)ref[2]);
    *worst = HYB_MAX(*worst, d / scale);
}

static int lesson_references(const char *name)
{
    const size_t length = strlen(name);
    size_t i;
    int n = 0;
    for (i = 0; i < hybrid_gguf_tensor_count(lesson_file); i++) {
        const hybrid_string s = hybrid_gguf_tensor_at(lesson_file, i)->name;
        n += s.size > length && !memcmp(s.data, name, length) && s.data[length] == '/';
    }
    return n;
}

static void test_gradients(const char *name)
{
    lesson l;
    char key[64];
    hybrid_train_metrics metrics;
    hybrid_error e;
    double loss = -1, before = 0, worst = 0;
    int i;
    if (!lesson_open(&l, name, NULL, 1, lesson_desc())) return;
    snprintf(key, sizeof key, "%s.loss", name);
    CHECK(hybrid_gguf_get_f64(lesson_file, key, &loss), "no %s", key);
    CHECK(!hybrid_trainer_evaluate(l.t, &l.batch, &before, &e), "%s", e.message);
    CHECK(!hybrid_trainer_step(l.t, &l.batch, &metrics, &e), "%s", e.message);
    CHECK(metrics.loss == before, "the loss of a step is %.9g, and was %.9g before it", metrics.loss, before);
    CHECK(fabs(metrics.loss - loss) <= 1e-5 * loss, "the loss is %.9g, not %.9g", metrics.loss, loss);
    CHECK(metrics.step == 1, "step %lld", (long long)metrics.step);
    CHECK(l.t->store.n_params == lesson_references(name), "%d tensors of %d", l.t->store.n_params,
          lesson_references(name));
    for (i = 0; i < l.t->store.n_params; i++)
        lesson_compare(name, &l.t->store.params[i], l.t->store.grads + l.t->store.params[i].at, &worst);
    printf("  %-20s loss %.1e apart, gradients %.1e\n", name, fabs(metrics.loss - loss), worst);
    lesson_close(&l);
}

/* ---- the same whatever computes ---------------------------------------------------------------------------------- */

/* Everything after two steps, freed by the caller: weights, gradients, moments. */
static float *lesson_result(const char *name, const char *isa, int n_threads, int every, int64_t *n)
{
    hybrid_trainer_desc d = lesson_desc();
    lesson l;
    hybrid_error e;
    float *all, *at;
    int step, i, j;
    d.recompute_every = every;
    if (!lesson_open(&l, name, isa, n_threads, d)) return NULL;
    for (step = 0; step < 2; step++) CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
    for (i = 0, *n = 0; i < l.t->store.n_params; i++) *n += 4 * l.t->store.params[i].n;
    all = at = (float *)malloc(sizeof *all * (size_t)*n);
    for (i = 0; i < l.t->store.n_params; i++) { /* not what lies between */
        const hyb_store *s = &l.t->store;
        const hyb_param *p = &s->params[i];
        const float *const from[] = { s->weights + p->at, s->grads + p->at, hyb_store_state(s, p, 0),
                                      hyb_store_state(s, p, 1) };
        for (j = 0; j < 4; j++, at += p->n) memcpy(at, from[j], sizeof *at * (size_t)p->n);
    }
    lesson_close(&l);
    return all;
}

static void test_same_bits(const char *name, bool isas)
{
    int64_t n = 0, m = 0;
    float *one = lesson_result(name, NULL, 1, 0, &n), *other;
    int i;
    for (i = 2; one && i <= 4; i++) {
        if (i == 4 && !isas) break;
        other = lesson_result(name, i == 4 ? "generic" : NULL, i == 4 ? 1 : i, 0, &m);
        CHECK(m == n, "%lld values, not %lld", (long long)m, (long long)n);
        CHECK(other && !memcmp(one, other, sizeof *one * (size_t)n), "%s: %s gives other bits", name,
              i == 4   ? "generic"
              : i == 3 ? "3 threads"
                       : "2 threads");
        free(other);
    }
    free(one);
}

/* Layers that run forward once more on the way back: one by one, two at a time (the last of three by itself), more than
 * there are. */
static void test_recompute(const char *name)
{
    static const int every[] = { 1, 2, 100 };
    int64_t n = 0, m = 0;
    float *kept = lesson_result(name, NULL, 2, 0, &n), *other;
    int i;
    for (i = 0; kept && i < 3; i++) {
        other = lesson_result(name, NULL, 2, every[i], &m);
        CHECK(m == n && other && !memcmp(kept, other, sizeof *kept * (size_t)n), "%s: recompute_every %d: other bits",
              name, every[i]);
        free(other);
    }
    free(kept);
}

/* ---- optimizers: ten steps of torch.optim (oracle/make_optim.py) ------------------------------------------------- */

static hybrid_gguf *optim_file;

static hybrid_trainer_desc optim_desc(const char *run)
{
    hybrid_trainer_desc d = lesson_desc();
    d.clip = 1;
    d.decay = 0.1f;
    d.rate = 1e-3f;
    if (!strcmp(run, "adamw")) {
        d.ema = 0.9f;
    } else if (!strcmp(run, "muon")) {
        d.optimizer = HYBRID_OPTIMIZER_MUON;
    } else {
        d.optimizer = HYBRID_OPTIMIZER_SGD;
        d.rate = 0.05f;
        d.momentum = !strcmp(run, "sgd") ? 0 : 0.9f;
        d.nesterov = !strcmp(run, "nesterov");
    }
    return d;
}

/* How far the weights are from those of a run: values, norm, largest and a sum that sees every value. Not of the biases
 * of gpt2's keys: attention does not depend on them, and AdamW makes steps of what rounding leaves of their gradient.
 */
static double optim_apart(const lesson *l, const char *name, const char *run)
{
    double worst = 0;
    int p;
    for (p = 0; p < l->t->store.n_params; p++) {
        const hyb_param *param = &l->t->store.params[p];
        const float *w = l->t->store.weights + param->at, *ref;
        const hybrid_gguf_tensor *t;
        double square = 0, sum = 0, largest = 0;
        char key[128];
        int64_t i;
        snprintf(key, sizeof key, "%s.%s/%.*s", name, run, (int)param->name.size, param->name.data);
        if (strstr(key, "attn_qkv.bias")) continue;
        t = hybrid_gguf_find_tensor(optim_file, key);
        CHECK(t, "no %s", key);
        if (!t) return 1e9;
        ref = (const float *)t->data;
        for (i = 0; i < param->n; i++) {
            square += (double)w[i] * (double)w[i];
            largest = HYB_MAX(largest, fabs((double)w[i]));
            sum += (double)w[i] * cos((double)i);
        }
        worst = HYB_MAX(worst, fabs(sqrt(square) / (double)ref[0] - 1));
        worst = HYB_MAX(worst, fabs(largest / (double)ref[1] - 1));
        worst = HYB_MAX(worst, fabs(sum - (double)ref[2]) / (double)ref[0]);
        for (i = 0; i + 3 < (int64_t)t->ne[0]; i++)
            worst = HYB_MAX(worst, fabs((double)w[i * LESSON_STEP % param->n] - (double)ref[3 + i]) / (double)ref[1]);
    }
    return worst;
}

static void test_optimizer(const char *name, const char *run)
{
    lesson l;
    hybrid_train_metrics metrics;
    hybrid_gguf_value losses;
    hybrid_error e;
    char key[64];
    double worst = 0, d;
    float want;
    int step;
    if (!lesson_open(&l, name, NULL, 2, optim_desc(run))) return;
    TEST("optimizers");
    snprintf(key, sizeof key, "%s.%s", name, run);
    CHECK(hybrid_gguf_find(optim_file, key, &losses) && losses.count == 10 && losses.item_type == HYBRID_GGUF_F32, "%s",
          key);
    for (step = 0; step < 10; step++) {
        CHECK(!hybrid_trainer_step(l.t, &l.batch, &metrics, &e), "%s", e.message);
        memcpy(&want, (const char *)losses.data + sizeof want * (size_t)step, sizeof want);
        worst = HYB_MAX(worst, fabs(metrics.loss / (double)want - 1));
    }
    d = optim_apart(&l, name, run);
    CHECK(worst <= 2e-5, "%s: the losses are %.1e apart", key, worst);
    CHECK(d <= 1e-4, "%s: the weights are %.1e apart", key, d);
    printf("  %-20s losses %.1e apart, weights %.1e\n", key, worst, d);
    if (l.t->desc.ema > 0) {
        float *before = (float *)malloc(sizeof *before * (size_t)l.t->store.n_values);
        const size_t bytes = sizeof *before * (size_t)l.t->store.n_values;
        memcpy(before, l.t->store.weights, bytes);
        CHECK(!hybrid_trainer_swap_ema(l.t, &e), "%s", e.message);
        d = optim_apart(&l, name, "ema");
        CHECK(d <= 1e-4, "%s: the averages are %.1e apart", key, d);
        CHECK(hybrid_trainer_step(l.t, &l.batch, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "swap_ema"),
              "a step from the average");
        CHECK(!hybrid_trainer_swap_ema(l.t, &e), "%s", e.message);
        CHECK(!memcmp(before, l.t->store.weights, bytes), "%s: the weights are not back", key);
        free(before);
    }
    lesson_close(&l);
}

/* Weights and states after two steps, whatever computes. */
static void test_optimizer_bits(const char *run)
{
    lesson a, b;
    hybrid_error e;
    int way, step, i, kind;
    for (way = 0; way < 2; way++) {
        if (!lesson_open(&a, "gpt2", NULL, 1, optim_desc(run))) return;
        if (!lesson_open(&b, "gpt2", way ? "generic" : NULL, way ? 1 : 3, optim_desc(run))) return;
        TEST("optimizers");
        for (step = 0; step < 2; step++)
            CHECK(!hybrid_trainer_step(a.t, &a.batch, NULL, &e) && !hybrid_trainer_step(b.t, &b.batch, NULL, &e), "%s",
                  e.message);
        for (i = 0; i < a.t->store.n_params; i++) {
            const hyb_param *p = &a.t->store.params[i];
            const size_t bytes = sizeof(float) * (size_t)p->n;
            CHECK(!memcmp(a.t->store.weights + p->at, b.t->store.weights + p->at, bytes), "%s: %s gives other weights",
                  run, way ? "generic" : "3 threads");
            for (kind = 0; kind < HYB_STATES; kind++) {
                const float *x = hyb_store_state(&a.t->store, p, (hyb_state_kind)kind);
                const float *y = hyb_store_state(&b.t->store, p, (hyb_state_kind)kind);
                CHECK(!x == !y && (!x || !memcmp(x, y, bytes)), "%s: %s gives another state %d", run,
                      way ? "generic" : "3 threads", kind);
            }
        }
        lesson_close(&a);
        lesson_close(&b);
    }
}

/* What is kept is what is needed. */
static void test_optimizer_memory(void)
{
    static const struct {
        const char *run;
        int states, rest; /* of a matrix of hidden layers, of others */
    } rows[] = { { "adamw", 3, 3 }, { "sgd", 0, 0 }, { "momentum", 1, 1 }, { "muon", 1, 2 } };
    lesson l;
    size_t r;
    int i;
    for (r = 0; r < sizeof rows / sizeof *rows; r++) {
        int64_t want = 0;
        if (!lesson_open(&l, "llama", NULL, 1, optim_desc(rows[r].run))) return;
        for (i = 0; i < l.t->store.n_params; i++) {
            const hyb_param *p = &l.t->store.params[i];
            want += hyb_store_room(p->n) * (p->group == HYB_GROUP_MATRIX ? rows[r].states : rows[r].rest);
        }
        CHECK(l.t->store.n_states == want, "%s keeps %lld values, not %lld", rows[r].run,
              (long long)l.t->store.n_states, (long long)want);
        lesson_close(&l);
    }
}

static void test_optimizers(void)
{
    static const char *const runs[] = { "adamw", "sgd", "momentum", "nesterov", "muon" };
    hybrid_source source;
    hybrid_error e;
    size_t i;
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/optim.gguf";
    TEST("optimizers");
    CHECK(!hybrid_gguf_open(NULL, &source, &optim_file, &e), "%s", e.message);
    for (i = 0; optim_file && i < 2 * HYB_COUNT(runs); i++) test_optimizer(i % 2 ? "llama" : "gpt2", runs[i / 2]);
    test_optimizer_bits("nesterov");
    test_optimizer_bits("muon");
    test_optimizer_memory();
    hybrid_gguf_destroy(optim_file);
}

/* The gradients of two trainers: the largest difference is within a millionth of the largest gradient. */
static void near_gradients(const char *name, const char *what, const lesson *a, const lesson *b)
{
    int i;
    int64_t j;
    for (i = 0; i < a->t->store.n_params; i++) {
        const hyb_param *p = &a->t->store.params[i];
        double off = 0, largest = 0;
        for (j = p->at; j < p->at + p->n; j++) {
            const double d = fabs((double)a->t->store.grads[j] - (double)b->t->store.grads[j]);
            off = d <= off ? off : d;
            largest = HYB_MAX(largest, fabs((double)a->t->store.grads[j]));
        }
        CHECK(off <= 1e-6 * largest, "%s: gradients of %.*s are %.1e apart %s", name, (int)p->name.size, p->name.data,
              off / largest, what);
    }
}

/* Two batches of a step are the step of one batch with the sequences of both; so many rows that sums go in chunks. */
static void test_batches(const char *name)
{
    enum { N = 6 };
    static int32_t ids[N * LESSON_T], targets[N * LESSON_T];
    static float weights[N * LESSON_T];
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch all, halves[2];
    hybrid_train_metrics one, two;
    hybrid_error e;
    lesson whole, cut;
    int i;
    d.n_seq = N;
    if (!lesson_open(&whole, name, NULL, 1, d)) return;
    d.n_seq = N / 2;
    d.n_batches = 2;
    if (!lesson_open(&cut, name, NULL, 1, d)) return;
    for (i = 0; i < N * LESSON_T; i++) {
        const int from = i % (2 * LESSON_T), shift = i / (2 * LESSON_T) * 5;
        ids[i] = (whole.ids[from] + shift) % whole.m->hp.n_vocab;
        targets[i] = whole.targets[from] < 0 ? -1 : (whole.targets[from] + shift) % whole.m->hp.n_vocab;
        weights[i] = whole.weights[from] * (float)(1 + i / (2 * LESSON_T));
    }
    memset(&all, 0, sizeof all);
    memset(halves, 0, sizeof halves);
    all.ids = ids;
    all.targets = targets;
    all.weights = weights;
    for (i = 0; i < 2; i++) {
        halves[i].ids = ids + i * N / 2 * LESSON_T;
        halves[i].targets = targets + i * N / 2 * LESSON_T;
        halves[i].weights = weights + i * N / 2 * LESSON_T;
    }
    CHECK(!hybrid_trainer_step(whole.t, &all, &one, &e), "%s", e.message);
    CHECK(!hybrid_trainer_step(cut.t, halves, &two, &e), "%s", e.message);
    CHECK(fabs(one.loss - two.loss) <= 1e-9, "losses %.9g and %.9g", one.loss, two.loss);
    CHECK(one.n_tokens == two.n_tokens, "%lld and %lld targets", (long long)one.n_tokens, (long long)two.n_tokens);
    near_gradients(name, "in two batches", &whole, &cut);
    lesson_close(&whole);
    lesson_close(&cut);
}

/* Logits of some rows at a time: the same losses, and gradients but for the order of sums over rows. */
static void test_loss_rows(const char *name, int rows)
{
    hybrid_train_metrics one, two;
    hybrid_error e;
    lesson whole, cut;
    if (!lesson_open(&whole, name, NULL, 1, lesson_desc()) || !lesson_open(&cut, name, NULL, 1, lesson_desc())) return;
    CHECK(hyb_transformer_of(cut.t->objective)->memory.loss_rows == 2 * LESSON_T, "%d rows of logits",
          hyb_transformer_of(cut.t->objective)->memory.loss_rows);
    hyb_transformer_of(cut.t->objective)->memory.loss_rows = rows;
    CHECK(!hybrid_trainer_step(whole.t, &whole.batch, &one, &e), "%s", e.message);
    CHECK(!hybrid_trainer_step(cut.t, &cut.batch, &two, &e), "%s", e.message);
    CHECK(one.loss == two.loss, "losses %.9g and %.9g", one.loss, two.loss);
    near_gradients(name, "with few rows of logits", &whole, &cut);
    lesson_close(&whole);
    lesson_close(&cut);
}

/* The head sees the rows whose target counts, and no others: that changes no bit. The same batches once without a
 * target in most rows (all but the last of one batch), and once with targets whose weight is 0 there. */
static void test_counted(const char *name, int32_t recompute_every)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch some[2], all[2];
    hybrid_train_metrics one, two;
    hybrid_error e;
    lesson counted, weighed;
    int i, n = 0;
    d.n_batches = 2;
    d.n_seq = 1;
    d.recompute_every = recompute_every;
    if (!lesson_open(&counted, name, NULL, 1, d) || !lesson_open(&weighed, name, NULL, 1, d)) return;
    for (i = 0; i < 2 * LESSON_T; i++) {
        const bool counts = i == LESSON_T - 1 || (i > LESSON_T + 4 && i % 5 < 2);
        weighed.targets[i] = counted.targets[i] = (counted.ids[i] + 1) % counted.m->hp.n_vocab;
        if (!counts) counted.targets[i] = -1;
        counted.weights[i] = 0.5f + (float)(i % 3);
        weighed.weights[i] = counts ? counted.weights[i] : 0;
        n += counts && i >= LESSON_T;
    }
    memset(some, 0, sizeof some);
    memset(all, 0, sizeof all);
    for (i = 0; i < 2; i++) {
        some[i].ids = all[i].ids = counted.ids + i * LESSON_T;
        some[i].targets = counted.targets + i * LESSON_T;
        some[i].weights = counted.weights + i * LESSON_T;
        all[i].targets = weighed.targets + i * LESSON_T;
        all[i].weights = weighed.weights + i * LESSON_T;
    }
    for (i = 0; i < LESSON_T; i++) hyb_transformer_of(counted.t->objective)->memory.back.dh[i] = 1; /* of old times */
    for (i = 0; i < 2; i++) {
        CHECK(!hybrid_trainer_step(counted.t, some, &one, &e), "%s", e.message);
        CHECK(!hybrid_trainer_step(weighed.t, all, &two, &e), "%s", e.message);
        CHECK(one.n_tokens == n + 1 && two.n_tokens == 2 * LESSON_T, "%d targets", (int)one.n_tokens);
        CHECK(!memcmp(counted.t->store.grads, weighed.t->store.grads,
                      sizeof(float) * (size_t)counted.t->store.n_values),
              "%s: gradients are others where only some rows count", name);
        CHECK(hyb_transformer_of(counted.t->objective)->pass.batch.n_out == n, "%s: the head saw %d rows, %d count",
              name, hyb_transformer_of(counted.t->objective)->pass.batch.n_out, n);
        for (n = 0; n < LESSON_T; n++) { /* once more, with a batch in which nothing counts */
            counted.targets[LESSON_T + n] = -1;
            weighed.weights[LESSON_T + n] = 0;
        }
        n = 0;
    }
    lesson_close(&counted);
    lesson_close(&weighed);
}

/* A quantized model is trained from the values of its blocks, and gets better. */
static void test_quantized(const char *path)
{
    hybrid_runtime *rt = lesson_runtime(NULL, 2);
    hybrid_model_desc md;
    hybrid_trainer_desc td = lesson_desc();
    hybrid_trainer *t = NULL;
    hybrid_train_metrics metrics;
    hybrid_train_batch batch;
    hybrid_error e;
    int32_t ids[65];
    double before = 0, after = 0;
    int i, n_wrong = 0;
    TEST("a quantized model");
    memset(&md, 0, sizeof md);
    md.path = path;
    md.trainable = true;
    CHECK(!hybrid_model_load(rt, &md, &td.model, &e), "%s", e.message);
    td.n_seq = 1;
    td.n_ctx = 64;
    td.clip = 1;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    if (!t) return;
    for (i = 0; i < t->store.n_params; i++) {
        const hyb_param *p = &t->store.params[i];
        float *values = (float *)malloc(sizeof *values * (size_t)p->n);
        char name[96];
        const hybrid_gguf_tensor *tensor;
        snprintf(name, sizeof name, "%.*s", (int)p->name.size, p->name.data);
        tensor = hybrid_gguf_find_tensor(t->model->gguf, name);
        CHECK(!hybrid_dequantize(tensor->type, tensor->data, values, (size_t)p->n, &e), "%s: %s", name, e.message);
        n_wrong += memcmp(values, t->store.weights + p->at, sizeof *values * (size_t)p->n) != 0;
        free(values);
    }
    CHECK(!n_wrong, "%d of %d tensors", n_wrong, t->store.n_params);
    for (i = 0; i < 65; i++) ids[i] = (int32_t)(i * i * 7 % 500 + 3);
    batch.ids = ids;
    batch.targets = ids + 1;
    batch.weights = NULL;
    batch.n_seq = batch.n_ctx = 0;
    CHECK(!hybrid_trainer_evaluate(t, &batch, &before, &e), "%s", e.message);
    for (i = 0; i < 5; i++) CHECK(!hybrid_trainer_step(t, &batch, &metrics, &e), "%s", e.message);
    CHECK(metrics.step == 5, "%lld steps", (long long)metrics.step);
    CHECK(!hybrid_trainer_evaluate(t, &batch, &after, &e), "%s", e.message);
    CHECK(after < before - 0.1, "the loss was %g, and is %g", before, after);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(td.model);
    hybrid_runtime_destroy(rt);
}

/* ---- training and running are one model -------------------------------------------------------------------------- */

/* The model with the weights of now, as a file. */
static bytes lesson_written(const lesson *l)
{
    hybrid_gguf_writer *w = NULL;
    hybrid_error e;
    bytes out = { NULL, 0, 0 };
    const size_t n = hybrid_gguf_tensor_count(l->m->gguf);
    size_t i;
    int p;
    CHECK(!hybrid_gguf_writer_create(NULL, &w, &e), "%s", e.message);
    CHECK(!hybrid_gguf_copy_keys(w, l->m->gguf, &e), "%s", e.message);
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(l->m->gguf, i);
        char name[96];
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        CHECK(!hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, &e), "%s", e.message);
    }
    CHECK(!hybrid_gguf_begin(w, bytes_write, &out, &e), "%s", e.message);
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(l->m->gguf, i);
        const void *data = t->data;
        for (p = 0; p < l->t->store.n_params; p++)
            if (l->t->store.params[p].name.data == t->name.data) data = l->t->store.weights + l->t->store.params[p].at;
        CHECK(!hybrid_gguf_write(w, data, (size_t)t->size, &e), "%s", e.message);
    }
    CHECK(!hybrid_gguf_end(w, &e), "%s", e.message);
    hybrid_gguf_writer_destroy(w);
    return out;
}

/* The logits after the ids, in a context that knows nothing else. */
static void lesson_logits(hybrid_context *c, const lesson *l, float *logits)
{
    hybrid_error e;
    CHECK(!hybrid_seq_remove(c, 0, 0, &e), "%s", e.message);
    CHECK(!hybrid_batch_add(c, 0, l->ids, LESSON_T, &e), "%s", e.message);
    CHECK(!hybrid_decode(c, &e), "%s", e.message);
    memcpy(logits, hybrid_logits(c, 0), sizeof *logits * (size_t)l->m->hp.n_vocab);
}

static void test_runs(const char *name)
{
    static float before[256], after[256], written[256];
    lesson l;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_context *c = NULL, *again = NULL;
    hybrid_model *copy = NULL;
    hybrid_error e;
    bytes file;
    size_t size;
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 64;
    if (!lesson_open(&l, name, NULL, 2, lesson_desc())) return;
    size = sizeof(float) * (size_t)l.m->hp.n_vocab;
    CHECK(!hybrid_context_create(l.m, &cd, &c, &e), "%s", e.message);
    lesson_logits(c, &l, before);
    lesson_logits(c, &l, after);
    CHECK(!memcmp(before, after, size), "%s: other logits without a step", name);
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
    lesson_logits(c, &l, after);
    CHECK(memcmp(before, after, size), "%s: a step leaves the logits as they were", name);
    file = lesson_written(&l);
    md.source.data = file.data;
    md.source.size = file.size;
    CHECK(!hybrid_model_load(l.rt, &md, &copy, &e), "%s", e.message);
    CHECK(!hybrid_context_create(copy, &cd, &again, &e), "%s", e.message);
    lesson_logits(again, &l, written);
    CHECK(!memcmp(written, after, size), "%s: the weights that were written give other logits", name);
    hybrid_context_destroy(again);
    hybrid_model_destroy(copy);
    hybrid_context_destroy(c);
    lesson_close(&l);
    free(file.data);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void test_untrainable(const char *name, const char *word)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_runtime *rt = lesson_runtime(NULL, 1);
    hybrid_trainer *t = NULL;
    hybrid_error e;
    hybrid_result r;
    TEST("models that cannot be trained");
    d.model = lesson_model(rt, name, false);
    r = hybrid_trainer_create(&d, &t, &e);
    CHECK(r == HYBRID_ERROR_INVALID, "%s: result %d", name, (int)r);
    CHECK(r && strstr(e.message, word), "%s: %s", name, r ? e.message : "");
    CHECK(!t, "%s: a trainer that was refused", name);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
}

static void test_too_large(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_runtime *rt = lesson_runtime(NULL, 1);
    hybrid_trainer *t = NULL;
    hybrid_error e;
    TEST("batches that are too large");
    d.model = lesson_model(rt, "llama-biases", true);
    d.n_seq = 65535;
    d.n_ctx = 1 << 20;
    CHECK(hybrid_trainer_create(&d, &t, &e) == HYBRID_ERROR_LIMIT, "2^36 rows: %s", e.message);
    CHECK(strstr(e.message, "n_batches"), "%s", e.message);
    d.n_ctx = 1 << 15; /* 2^31 rows, and a few less */
    CHECK(hybrid_trainer_create(&d, &t, &e) == HYBRID_ERROR_LIMIT, "2^31 rows: %s", e.message);
    CHECK(!t, "a trainer that was refused");
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
}

/* The steps that are refused leave everything but gradients as it was. */
static void refused(lesson *l, hybrid_result want, const char *word)
{
    const hyb_store *s = &l->t->store;
    const size_t bytes = sizeof(float) * (size_t)s->n_values, states = sizeof(float) * (size_t)s->n_states;
    char *before = (char *)malloc(bytes + states);
    const int64_t step = l->t->step;
    hybrid_train_metrics metrics, untouched;
    hybrid_error e;
    hybrid_result r;
    memset(&metrics, 7, sizeof metrics);
    untouched = metrics;
    memcpy(before, s->weights, bytes);
    memcpy(before + bytes, s->states, states);
    r = hybrid_trainer_step(l->t, &l->batch, &metrics, &e);
    CHECK(r == want, "'%s': result %d", word, (int)r);
    CHECK(r && strstr(e.message, word), "'%s': %s", word, r ? e.message : "");
    CHECK(!memcmp(before, s->weights, bytes), "'%s': the weights", word);
    CHECK(!memcmp(before + bytes, s->states, states), "'%s': the states", word);
    CHECK(!memcmp(&metrics, &untouched, sizeof metrics), "'%s': the metrics", word);
    CHECK(l->t->step == step, "'%s': step %lld", word, (long long)l->t->step);
    free(before);
}

static void test_refusals(void)
{
    lesson l;
    hybrid_error e;
    double loss = 7;
    float was;
    int32_t id;
    int i;
    if (!lesson_open(&l, "gpt2", NULL, 2, lesson_desc())) return;
    TEST("steps that are refused");
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
    id = l.ids[LESSON_T + 3];
    for (i = 0; i < 2; i++) { /* at the end of a batch, too */
        l.ids[LESSON_T + 3] = i ? -1 : l.m->hp.n_vocab;
        refused(&l, HYBRID_ERROR_INVALID, "token 3 of sequence 1");
        CHECK(hybrid_trainer_evaluate(l.t, &l.batch, &loss, &e) == HYBRID_ERROR_INVALID, "evaluated, %g", loss);
    }
    l.ids[LESSON_T + 3] = id;
    l.targets[LESSON_T + 1] = l.m->hp.n_vocab;
    refused(&l, HYBRID_ERROR_INVALID, "token 1 of sequence 1");
    l.targets[LESSON_T + 1] = 0;
    l.batch.ids = NULL;
    refused(&l, HYBRID_ERROR_INVALID, "ids");
    l.batch.ids = l.ids;
    l.batch.targets = NULL;
    refused(&l, HYBRID_ERROR_INVALID, "targets");
    l.batch.targets = l.targets;
    l.batch.weights = l.weights;
    for (i = 0; i < 4; i++) {
        l.weights[10] = i == 0 ? (float)NAN : i == 1 ? HUGE_VALF : i == 2 ? -HUGE_VALF : -1e-9f;
        refused(&l, HYBRID_ERROR_INVALID, "the weight of target 10 of sequence 0");
    }
    for (i = 0; i < 2 * LESSON_T; i++) l.weights[i] = 0;
    refused(&l, HYBRID_ERROR_INVALID, "nothing can be learned");
    for (i = 0; i < 2 * LESSON_T; i++) l.weights[i] = l.targets[i] < 0 ? (float)NAN : 1; /* which counts not */
    was = l.t->store.weights[l.t->store.params[5].at];
    l.t->store.weights[l.t->store.params[5].at] = (float)NAN;
    refused(&l, HYBRID_ERROR_NUMERIC, "not done");
    l.t->store.weights[l.t->store.params[5].at] = HUGE_VALF;
    refused(&l, HYBRID_ERROR_NUMERIC, "not done");
    l.t->store.weights[l.t->store.params[5].at] = was;
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "after all that: %s", e.message);
    for (i = 0; i < 2 * LESSON_T; i++) l.targets[i] = -1;
    refused(&l, HYBRID_ERROR_INVALID, "nothing can be learned");
    CHECK(hybrid_trainer_evaluate(l.t, &l.batch, &loss, &e) == HYBRID_ERROR_INVALID, "evaluated, %g", loss);
    CHECK(loss == 7, "a loss of %g where there is none", loss);
    lesson_close(&l);
}

/* ---- memory that fails ------------------------------------------------------------------------------------------- */

typedef struct ration {
    size_t live;
    long calls, fail_at;
} ration;
static void *ration_alloc(void *user, size_t size)
{
    ration *r = (ration *)user;
    size_t *p;
    if (++r->calls == r->fail_at || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    r->live += size;
    return p + 2;
}
static void ration_free(void *user, void *block)
{
    size_t *p = (size_t *)block - 2;
    ((ration *)user)->live -= *p;
    free(p);
}

static void test_memory(const char *name)
{
    hybrid_runtime_desc rd;
    hybrid_trainer_desc d = lesson_desc();
    hybrid_runtime *rt = NULL;
    hybrid_trainer *t = NULL;
    hybrid_error e;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    ration given = { 0, 0, 0 };
    size_t before;
    TEST("allocations of a trainer that fail");
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = ration_alloc;
    rd.allocator.free = ration_free;
    rd.allocator.user = &given;
    rd.n_threads = 1;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    d.model = lesson_model(rt, name, true);
    before = given.live;
    for (given.fail_at = 1; r == HYBRID_ERROR_MEMORY && given.fail_at < 100; given.fail_at++) {
        given.calls = 0;
        r = hybrid_trainer_create(&d, &t, &e);
        CHECK(!r || !t, "allocation %ld: a trainer that failed", given.fail_at);
        if (r)
            CHECK(given.live == before, "allocation %ld: %ld bytes leaked", given.fail_at, (long)(given.live - before));
    }
    CHECK(!r, "allocation %ld: %s", given.fail_at, r ? e.message : "");
    CHECK(given.fail_at > 4, "only %ld allocations", given.fail_at);
    hybrid_trainer_destroy(t);
    CHECK(given.live == before, "%ld bytes leaked", (long)(given.live - before));
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes leaked in the end", (long)given.live);
}

static void test_in_slices(void);

static void lesson_references_open(void)
{
    hybrid_source source;
    hybrid_error e;
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/train.gguf";
    TEST("gradients by transformers");
    CHECK(!hybrid_gguf_open(NULL, &source, &lesson_file, &e), "%s", e.message);
}

static void test_models(void)
{
    size_t i;
    lesson_references_open();
    for (i = 0; i < sizeof lesson_names / sizeof *lesson_names; i++)
        if (test_wanted_as("gradients %s", lesson_names[i])) test_gradients(lesson_names[i]);
    PART(test_same_bits("gpt2", true));
    PART(test_same_bits("gemma2", true));
    PART(test_same_bits("qwen3", true));
    PART(test_same_bits("llama-biases", false));
    PART(test_same_bits("lfm2", true));
    PART(test_same_bits("qwen2moe", true));
    PART(test_same_bits("rwkv7", true));
    PART(test_same_bits("arwkv7", true));
    for (i = 0; i < sizeof lesson_names / sizeof *lesson_names; i++)
        if (test_wanted_as("recompute %s", lesson_names[i])) test_recompute(lesson_names[i]);
    PART(test_batches("gpt2"));
    PART(test_batches("gemma3"));
    PART(test_batches("llama-biases"));
    PART(test_batches("lfm2-conv"));
    PART(test_batches("qwen2moe"));
    PART(test_batches("rwkv7"));
    PART(test_loss_rows("llama-biases", 33));
    PART(test_loss_rows("gemma2", 1));
    PART(test_counted("gpt2", 0));
    PART(test_counted("gemma3", 1));
    PART(test_quantized("examples/data/stories260K-q8_0.gguf"));
    PART(test_optimizers());
    PART(test_runs("smollm"));
    PART(test_runs("llama-biases"));
    PART(test_untrainable("llama", "trainable"));
    PART(test_too_large());
    PART(test_refusals());
    PART(test_memory("qwen2"));
    PART(test_in_slices());
}
#endif
