/* Models on the GPU [emu] [emu-reordered] [emu-check] [no-asan]: against transformers as test_models does it on the
 * CPU, through the headers that ship, and stories260K in several types against the CPU's own logits and text; and
 * models that are trained there, against the same steps on the CPU. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include "emu/counters.h"

static double relative(const float *a, int64_t stride, const float *b, int64_t rows, int64_t cols);

/* Caches in F16 go through tensor cores, whose inputs are halves; with other rows beside, other kernels may be
 * chosen. */
#define TOLERANCE     1e-4
#define SAME(a, b, n) (relative(a, n, b, 1, n) < 5e-3)
#include "models.inc"

/* Kernels that a decoded token takes, without those of top-k; tests/gpu_model.py reads these numbers here. */
#define LAUNCHES_A_LAYER 9 /* norm, q k v, heads, attention, their product, norm, gate and up, glu, down */
#define LAUNCHES_BESIDE  4 /* embedding, table of rotations, norm, head */
static unsigned long long launches_now(const hybrid_runtime *rt)
{
    emu_counters_function counters = NULL;
    hyb_library_symbol(&hyb_cuda_device_of(rt->gpu)->cu->driver.library, "emu_counters", &counters);
    return counters ? counters()->launches : 0; /* a real device counts nothing */
}

/* Greedy text of the GPU against the CPU's, and how far the logits are apart on the way. near: at a gap this small
 * the tokens may part. */
static void check_against_cpu(const char *path, hybrid_kv kv, int n, double tolerance, double near)
{
    static const int32_t start[] = { 1, 403, 407, 261, 378 };
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_runtime *rt[2] = { NULL, NULL };
    hybrid_model *m[2] = { NULL, NULL };
    hybrid_context *c[2] = { NULL, NULL };
    hybrid_error err;
    double worst = 0;
    unsigned long long before, most = 0;
    int i, k, n_vocab;
    if (!path) {
        SKIP("no shared data");
        return;
    }
    if (!test_wanted_as("%s, cache %d", strstr(path, "stories260K"), (int)kv)) return;
    for (k = 0; k < 2; k++) {
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        memset(&cd, 0, sizeof cd);
        rd.device = k ? "cuda" : "cpu";
        md.path = path;
        cd.n_ctx = 256;
        cd.kv = kv;
        CHECK(!hybrid_runtime_create(&rd, &rt[k], &err), "%s", err.message);
        CHECK(!hybrid_model_load(rt[k], &md, &m[k], &err), "%s", err.message);
        CHECK(!hybrid_context_create(m[k], &cd, &c[k], &err), "%s", err.message);
        if (!c[k]) return;
        CHECK(!hybrid_batch_add(c[k], 0, start, 5, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
    }
    check_place(m[1]);
    n_vocab = m[0]->hp.n_vocab;
    for (i = 0; i < n; i++) {
        const float *a = hybrid_logits(c[0], 0), *b = hybrid_logits(c[1], 0);
        double d = relative(b, n_vocab, a, 1, n_vocab);
        int32_t id = argmax(a, n_vocab);
        if (d > worst) worst = d;
        CHECK(argmax(b, n_vocab) == id || a[id] - a[argmax(b, n_vocab)] < near,
              "token %d is %d, the CPU's %d, %g better", i, argmax(b, n_vocab), id, a[id] - a[argmax(b, n_vocab)]);
        before = launches_now(rt[1]);
        for (k = 0; k < 2; k++)
            CHECK(!hybrid_batch_add(c[k], 0, &id, 1, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
        if (launches_now(rt[1]) - before > most) most = launches_now(rt[1]) - before;
    }
    CHECK(worst < tolerance, "logits are %.1e apart", worst);
    if (most && strstr(path, "q8_0"))
        CHECK((int)most == LAUNCHES_A_LAYER * m[1]->hp.n_layer + LAUNCHES_BESIDE, "%d launches a token", (int)most);
    printf("  %-60s %d tokens, logits within %.1e\n", path, n, worst);
    for (k = 0; k < 2; k++) {
        hybrid_context_destroy(c[k]);
        hybrid_model_destroy(m[k]);
        hybrid_runtime_destroy(rt[k]);
    }
}

/* What a context sets aside for experts of this size: room for every row, once for each expert that it goes to. */
static void check_scratch(hyb_device *gpu)
{
    hyb_limits limits;
    hyb_tensor w;
    memset(&limits, 0, sizeof limits);
    memset(&w, 0, sizeof w);
    limits.n_rows = 512;
    limits.n_expert_used = 8;
    w.type = HYBRID_TYPE_Q4_K;
    w.ne[0] = 2048;
    w.ne[1] = 768;
    w.ne[2] = 128;
    w.ne[3] = 1;
    CHECK(gpu->ops->show(gpu, &limits, &w), "%llu bytes", (unsigned long long)limits.scratch);
    CHECK(limits.scratch > (size_t)512 * 8 * 2048, "%llu bytes", (unsigned long long)limits.scratch);
}

/* A mixture of experts, or a model with a state, after a warm-up: no kernel is missing then, decoding is replayed from
 * a graph, the plan says what is taken, and the text is the CPU's. */
static void check_mixture(const char *path, int n)
{
    static const int32_t start[] = { 3, 17, 9, 30, 22, 4, 11, 25, 8, 19, 2, 28, 14, 6, 31, 12, 5, 27, 16 };
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_runtime *rt[2] = { NULL, NULL };
    hybrid_model *m[2] = { NULL, NULL };
    hybrid_context *c[2] = { NULL, NULL };
    hybrid_memory_plan plan;
    hybrid_error err;
    hyb_cuda_backend *be;
    uint64_t taken;
    double worst = 0;
    int i, k, n_vocab;
    for (k = 0; k < 2; k++) {
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        memset(&cd, 0, sizeof cd);
        rd.device = k ? "cuda" : "cpu";
        if (k) rd.kernel_cache.path = "";
        md.path = path;
        md.device_n_ctx = 64;
        cd.n_ctx = 64;
        cd.n_seq = 1;
        cd.kv = HYBRID_KV_F32;
        cd.n_batch = 32;
        cd.n_candidates = 16;
        CHECK(!hybrid_runtime_create(&rd, &rt[k], &err), "%s", err.message);
        CHECK(!hybrid_model_load(rt[k], &md, &m[k], &err), "%s", err.message);
        CHECK(!hybrid_context_create(m[k], &cd, &c[k], &err), "%s", err.message);
        if (!c[k]) return;
    }
    check_place(m[1]);
    taken = hyb_cuda_device_of(rt[1]->gpu)->cu->arena.used;
    check_scratch(rt[1]->gpu);
    CHECK(!hybrid_warmup(c[1], NULL, NULL, &err), "%s", err.message);
    setenv("EMU_FAIL", "nvrtcCompileProgram:1+", 1);
    n_vocab = m[0]->hp.n_vocab;
    for (k = 0; k < 2; k++)
        CHECK(!hybrid_batch_add(c[k], 0, start, 19, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
    for (i = 0; i < n; i++) {
        const float *a = hybrid_logits(c[0], 0), *b = hybrid_logits(c[1], 0);
        const int32_t id = argmax(a, n_vocab);
        double d = relative(b, n_vocab, a, 1, n_vocab);
        if (d > worst) worst = d;
        CHECK(argmax(b, n_vocab) == id, "token %d is %d, the CPU's %d", i, argmax(b, n_vocab), id);
        for (k = 0; k < 2; k++)
            CHECK(!hybrid_batch_add(c[k], 0, &id, 1, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
    }
    CHECK(worst < TOLERANCE, "logits are %.1e apart", worst);
    be = (hyb_cuda_backend *)c[1]->forward.stages[0].be;
    CHECK(!strcmp(be->base.ops->name, "cuda"), "%d of %d tokens were replayed from a graph",
          (int)be->queue->n_graph_launches, n);
    CHECK((int)be->queue->n_graph_launches >= n - 3, "%d of %d tokens were replayed from a graph",
          (int)be->queue->n_graph_launches, n);
    unsetenv("EMU_FAIL");
    for (k = 0; k < 2; k++) {
        hybrid_context_destroy(c[k]);
        hybrid_model_destroy(m[k]);
    }
    CHECK(!hybrid_plan(rt[1], &md, &cd, &plan, &err), "planned %llu bytes, %llu were taken",
          (unsigned long long)plan.device, (unsigned long long)taken);
    CHECK(plan.device == taken, "planned %llu bytes, %llu were taken", (unsigned long long)plan.device,
          (unsigned long long)taken);
    for (k = 0; k < 2; k++) hybrid_runtime_destroy(rt[k]);
}

/* Sequences with a state take turns: passes of one shape, which are replayed from one graph, go on from the slots of
 * other sequences. Forks, a removal, and two sequences in one batch; the text is the CPU's. */
static void check_turns(const char *path)
{
    enum { SEQS = 3, TURNS = 12 };
    static const int32_t start[] = { 3, 17, 9, 30, 22, 4, 11, 25, 8, 19 };
    hybrid_runtime *rt[2] = { NULL, NULL };
    hybrid_model *m[2] = { NULL, NULL };
    hybrid_context *c[2] = { NULL, NULL };
    hybrid_error err;
    hyb_cuda_backend *be;
    double worst = 0;
    int k, i, s;
    for (k = 0; k < 2; k++) {
        hybrid_runtime_desc rd;
        hybrid_model_desc md;
        hybrid_context_desc cd;
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        memset(&cd, 0, sizeof cd);
        rd.device = k ? "cuda" : "cpu";
        md.path = path;
        cd.n_ctx = 64;
        cd.n_seq = SEQS;
        cd.kv = HYBRID_KV_F32;
        cd.n_batch = 4; /* the start goes through in three chunks */
        CHECK(!hybrid_runtime_create(&rd, &rt[k], &err), "%s", err.message);
        CHECK(!hybrid_model_load(rt[k], &md, &m[k], &err), "%s", err.message);
        CHECK(!hybrid_context_create(m[k], &cd, &c[k], &err), "%s", err.message);
        if (!c[k]) return;
        CHECK(!hybrid_batch_add(c[k], 0, start, 10, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
        CHECK(!hybrid_seq_fork(c[k], 0, 1, &err), "%s", err.message);
        CHECK(!hybrid_batch_add(c[k], 2, start + 3, 7, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
    }
    check_place(m[1]);
    for (i = 0; i < TURNS; i++) {
        const int seq = i % SEQS;
        const bool both = i == 9;
        for (k = 0; k < 2; k++) {
            const int32_t id = (5 * i + 2) % 32;
            CHECK(!hybrid_batch_add(c[k], seq, &id, 1, &err), "%s", err.message);
            if (both) CHECK(!hybrid_batch_add(c[k], (seq + 1) % SEQS, &id, 1, &err), "%s", err.message);
            CHECK(!hybrid_decode(c[k], &err), "%s", err.message);
        }
        for (s = 0; s < (both ? 2 : 1); s++) {
            const int n_vocab = m[0]->hp.n_vocab, at = (seq + s) % SEQS;
            const double d = relative(hybrid_logits(c[1], at), n_vocab, hybrid_logits(c[0], at), 1, n_vocab);
            if (!(d <= worst)) worst = d;
        }
    }
    CHECK(worst < TOLERANCE, "%s: logits are %.1e apart", path, worst);
    be = (hyb_cuda_backend *)c[1]->forward.stages[0].be;
    CHECK((int)be->queue->n_graph_launches >= TURNS - 4, "%d of %d turns were replayed from a graph",
          (int)be->queue->n_graph_launches, TURNS);
    for (k = 0; k < 2; k++) {
        hybrid_context_destroy(c[k]);
        hybrid_model_destroy(m[k]);
        hybrid_runtime_destroy(rt[k]);
    }
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

typedef struct worn {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_context *c;
    hybrid_adapter *a[2];
} worn;

static void worn_end(worn *w)
{
    int i;
    for (i = 0; i < 2; i++) hybrid_adapter_destroy(w->a[i]);
    hybrid_context_destroy(w->c);
    hybrid_model_destroy(w->m);
    hybrid_runtime_destroy(w->rt);
    memset(w, 0, sizeof *w);
}

static bool worn_begin(worn *w, const char *path, const char *device, uint64_t most)
{
    static const char *const all = "all";
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_adapter_desc ad;
    hybrid_error e;
    bool good;
    size_t i;
    int k;
    memset(w, 0, sizeof *w);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    memset(&ad, 0, sizeof ad);
    rd.device = device;
    rd.max_device_bytes = most;
    md.path = path;
    md.device_n_ctx = cd.n_ctx = 128;
    cd.n_seq = 2;
    cd.n_batch = 16;
    cd.kv = HYBRID_KV_F32;
    ad.targets = &all;
    ad.n_targets = 1;
    good = !hybrid_runtime_create(&rd, &w->rt, &e) && !hybrid_model_load(w->rt, &md, &w->m, &e) &&
           !hybrid_context_create(w->m, &cd, &w->c, &e);
    for (k = 0; k < 2 && good; k++) {
        ad.rank = k ? 3 : 16;
        good = !hybrid_adapter_create(w->m, &ad, &w->a[k], &e);
        for (i = 0; good && i < w->a[k]->n_values; i++)
            w->a[k]->values[i] = (float)((int)((i * 7919 + (size_t)k * 31) % 1999) - 999) * 1e-4f;
        good = good && !hyb_adapter_changed(w->a[k], &e);
    }
    CHECK(good, "%s", e.message);
    if (!good) worn_end(w);
    return good;
}

/* A prompt of 13 tokens without adapters, then single tokens beside a sequence without: five without, five with one,
 * five with two, five with none, five with one again, each with the logits of both sequences. fail: at the 17th. */
enum { WORN_STEPS = 25 };
static void worn_talk(worn *w, const char *fail, float *logits)
{
    static const int sets[5] = { 0, 1, 2, 0, 1 };
    static const float scales[2] = { 1, -0.5f };
    const size_t n = (size_t)w->m->hp.n_vocab;
    int32_t ids[13], id;
    hybrid_error e;
    int i, s;
    for (i = 0; i < 13; i++) ids[i] = 5 + i * 3;
    for (s = 0; s < 2; s++) CHECK(!hybrid_batch_add(w->c, s, ids, 13, &e), "%s", e.message);
    CHECK(!hybrid_decode(w->c, &e), "%s", e.message);
    for (i = 0; i < WORN_STEPS; i++) {
        CHECK(!hybrid_seq_set_adapters(w->c, 0, w->a, scales, (size_t)sets[i / 5], &e), "%s", e.message);
        if (i == 17 && fail) setenv("EMU_FAIL", fail, 1);
        id = 7 + i * 5;
        for (s = 0; s < 2; s++) CHECK(!hybrid_batch_add(w->c, s, &id, 1, &e), "%s", e.message);
        CHECK(!hybrid_decode(w->c, &e), "%s", e.message);
        for (s = 0; s < 2; s++) memcpy(logits + (size_t)(2 * i + s) * n, hybrid_logits(w->c, s), n * sizeof *logits);
    }
    if (fail) unsetenv("EMU_FAIL");
}

/* Adapters on the GPU, on host and GPU together, and after the GPU is lost: what the cache held is computed again with
 * what each token was read with. Steps of one shape, of which those without adapters are replayed from a record.
 * split: on host and GPU, too: adapters of experts are too large to be beside some of such small layers. */
static void check_worn(const char *path, bool split)
{
    static const char *const fails[] = { NULL, NULL, "launch:3", "launch:40" };
    worn w;
    size_t n;
    float *cpu, *gpu;
    int i, k;
    uint64_t most;
    TEST(path);
    if (!test_wanted_as("worn %s", path)) return;
    if (!worn_begin(&w, path, "cpu", 0)) return;
    n = (size_t)w.m->hp.n_vocab;
    cpu = (float *)malloc(4 * WORN_STEPS * n * sizeof *cpu);
    gpu = cpu + 2 * WORN_STEPS * n;
    worn_talk(&w, NULL, cpu);
    CHECK(relative(cpu + 12 * n, (int64_t)n, cpu + 13 * n, 1, (int64_t)n) > 1e-2, "adapters change nothing");
    worn_end(&w);
    for (k = 0; k < (getenv("EMU_CHECK") ? 1 : 4); k++) {
        double worst = 0;
        if (k == 1 && !split) continue;
        if (!worn_begin(&w, path, "cuda", 0)) break;
        for (most = 64 << 20; k == 1 && !w.c->forward.stages[0].device->ops->is_host; most = most / 8 * 7) {
            worn_end(&w); /* until nothing is on the GPU, and from there back */
            if (!worn_begin(&w, path, "cuda", most)) return;
        }
        for (most = most / 7 * 8; k == 1 && w.c->forward.n_stages < 2 && most < 64 << 20; most += most / 256) {
            worn_end(&w);
            if (!worn_begin(&w, path, "cuda", most)) return;
        }
        CHECK(w.c->forward.n_stages == (k == 1 ? 2 : 1), "%d stages", w.c->forward.n_stages);
        worn_talk(&w, fails[k], gpu);
        CHECK(w.c->forward.stages[0].device->ops->is_host == (k > 0), "%s: the GPU is lost or not",
              fails[k] ? fails[k] : "");
        for (i = 0; i < 2 * WORN_STEPS; i++) {
            const double d = relative(gpu + (size_t)i * n, (int64_t)n, cpu + (size_t)i * n, 1, (int64_t)n);
            if (d > worst) worst = d;
        }
        CHECK(worst < 1e-4, "%s: logits are %.1e apart", fails[k] ? fails[k] : k ? "host and GPU" : "GPU", worst);
        printf("  %s, adapters, %s: %.1e\n", path, fails[k] ? fails[k] : k ? "host and GPU" : "GPU", worst);
        worn_end(&w);
    }
    free(cpu);
}

/* ---- training ---------------------------------------------------------------------------------------------------- */

enum { PUPIL_SEQS = 2, PUPIL_CTX = 40, PUPIL_ROWS = PUPIL_SEQS * PUPIL_CTX };
typedef struct pupil {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_trainer *t;
} pupil;

static bool pupil_open(pupil *p, const char *name, bool gpu, hybrid_trainer_desc d)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_train_plan plan;
    hybrid_error err;
    uint64_t taken;
    char path[256];
    snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", name);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(p, 0, sizeof *p);
    rd.device = gpu ? "cuda" : "cpu";
    md.path = path;
    md.trainable = true;
    CHECK(!hybrid_runtime_create(&rd, &p->rt, &err), "%s", err.message);
    CHECK(!hybrid_model_load(p->rt, &md, &p->m, &err), "%s", err.message);
    if (!p->m) return false;
    d.model = p->m;
    d.n_seq = PUPIL_SEQS;
    d.n_ctx = PUPIL_CTX;
    taken = gpu ? hyb_cuda_device_of(p->rt->gpu)->cu->arena.used : 0;
    CHECK(!hybrid_trainer_create(&d, &p->t, &err), "%s: %s", name, err.message);
    if (gpu && p->t) { /* planned to the byte, on the GPU */
        const hyb_transformer *made = hyb_transformer_of(p->t->objective);
        CHECK(!hybrid_trainer_plan(&d, &plan, &err), "%s", err.message);
        taken = hyb_cuda_device_of(p->rt->gpu)->cu->arena.used - taken;
        CHECK(plan.total - plan.host_bytes == taken, "%s: planned %llu bytes of the GPU, %llu were taken", name,
              (unsigned long long)(plan.total - plan.host_bytes), (unsigned long long)taken);
        taken += made->memory.host_bytes + plan.other;
        if (p->t->store.offload) taken += hyb_store_state_bytes(&p->t->store);
        CHECK(plan.total == taken, "%s: planned %llu bytes, %llu were taken", name, (unsigned long long)plan.total,
              (unsigned long long)taken);
    }
    CHECK((p->m->place.gpu != NULL) == gpu, "%s is trained on the other device", name);
    return p->t != NULL;
}
static void pupil_close(pupil *p)
{
    hybrid_trainer_destroy(p->t);
    hybrid_model_destroy(p->m);
    hybrid_runtime_destroy(p->rt);
}

/* The logits of what was trained, on the device that trains it. */
static float *pupil_logits(const pupil *p, const int32_t *ids)
{
    const size_t bytes = (size_t)p->m->hp.n_vocab * sizeof(float);
    hybrid_context_desc cd;
    hybrid_context *c = NULL;
    hybrid_error err;
    float *logits = (float *)malloc(bytes);
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 64;
    cd.kv = HYBRID_KV_F32;
    CHECK(!hybrid_context_create(p->m, &cd, &c, &err), "%s", err.message);
    CHECK(!hybrid_batch_add(c, 0, ids, 20, &err) && !hybrid_decode(c, &err), "%s", err.message);
    memcpy(logits, hybrid_logits(c, 0), bytes);
    hybrid_context_destroy(c);
    return logits;
}

/* A checkpoint goes from each device to the other one, and both go on alike. */
static void check_exchange(pupil p[2], const hybrid_train_batch *batch)
{
    char path[2][64];
    hybrid_error err;
    double loss[2], other[2];
    int k;
    for (k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "build/cuda-trained-%d-%d.gguf", k, (int)getpid());
        CHECK(!hybrid_trainer_evaluate(p[k].t, batch, &loss[k], &err), "%s", err.message);
        CHECK(!hybrid_trainer_save(p[k].t, path[k], &err), "%s", err.message);
    }
    for (k = 0; k < 2; k++) {
        hybrid_train_metrics a;
        CHECK(!hybrid_trainer_load(p[k].t, path[1 - k], &err), "%s", err.message);
        CHECK(!hybrid_trainer_evaluate(p[k].t, batch, &other[k], &err), "%s", err.message);
        CHECK(fabs(other[k] - loss[1 - k]) < 1e-5, "loss %.9g, and %.9g on the other device", other[k], loss[1 - k]);
        CHECK(!hybrid_trainer_step(p[k].t, batch, &a, &err), "%s", err.message);
        CHECK(!hybrid_trainer_evaluate(p[k].t, batch, &other[k], &err), "%s", err.message);
    }
    CHECK(fabs(other[0] - other[1]) < 1e-5, "then losses %.9g and %.9g", other[0], other[1]);
    for (k = 0; k < 2; k++) remove(path[k]);
}

/* Some steps on the CPU and on the GPU: the same losses; then a checkpoint goes from each to the other. */
static void check_trained(const char *name, int steps, hybrid_trainer_desc d)
{
    pupil p[2];
    int32_t ids[PUPIL_ROWS], targets[PUPIL_ROWS];
    float weights[PUPIL_ROWS], *logits[2];
    hybrid_train_batch batch, two[2];
    hybrid_train_metrics a[2];
    hybrid_error err;
    uint32_t bits = 5;
    double worst = 0;
    int i, k, n_vocab;
    if (!test_wanted_as("training %s, optimizer %d, batches %d", name, (int)d.optimizer, (int)d.n_batches)) return;
    d.rate = 1e-3f;
    d.clip = 1;
    d.decay = 0.1f;
    for (k = 0; k < 2; k++)
        if (!pupil_open(&p[k], name, k == 1, d)) return;
    n_vocab = p[0].m->hp.n_vocab;
    memset(&batch, 0, sizeof batch);
    batch.ids = ids;
    batch.targets = targets;
    batch.weights = weights;
    for (i = 0; i < PUPIL_ROWS; i++) {
        bits = bits * 1664525u + 1013904223u;
        ids[i] = (int32_t)(bits >> 8) % n_vocab;
        targets[i] = i % 7 == 3 ? -1 : (int32_t)(bits >> 12) % n_vocab;
        weights[i] = (float)(1 + i % 3);
    }
    two[0] = two[1] = batch;
    two[1].targets = ids;
    for (i = 0; i < steps; i++) {
        bool done = false;
        CHECK(!hybrid_trainer_step(p[0].t, two, &a[0], &err), "%s: %s", name, err.message);
        while (!done && !hybrid_trainer_work(p[1].t, two, i % 2 ? 300 : UINT64_MAX, &done, &a[1], &err)) {}
        CHECK(done, "%s: %s", name, err.message);
        if (fabs(a[0].loss - a[1].loss) > worst) worst = fabs(a[0].loss - a[1].loss);
        CHECK(fabs(a[0].grad_norm - a[1].grad_norm) < 1e-4 * a[0].grad_norm, "%s: norm %.9g, and %.9g on the GPU", name,
              a[0].grad_norm, a[1].grad_norm);
    }
    CHECK(worst < 1e-5, "%s: losses %.2g apart", name, worst);
    printf("  %-24s %d steps, losses within %.1e\n", name, steps, worst);
    for (k = 0; k < 2; k++) logits[k] = pupil_logits(&p[k], ids);
    CHECK(relative(logits[1], n_vocab, logits[0], 1, n_vocab) < TOLERANCE, "%s: logits %g apart", name,
          relative(logits[1], n_vocab, logits[0], 1, n_vocab));
    CHECK(fabs(a[0].noise_scale - a[1].noise_scale) <= 1e-3 * a[0].noise_scale, "%s: noise %.9g, and %.9g on the GPU",
          name, a[0].noise_scale, a[1].noise_scale);
    if (!strcmp(name, "llama")) /* of the others two steps need not tell any: 0 is "not known" */
        CHECK(d.n_batches < 2 || a[0].noise_scale > 0, "%s: no noise", name);
    check_exchange(p, two);
    for (k = 0; k < 2; k++) {
        free(logits[k]);
        pupil_close(&p[k]);
    }
}

/* Bytes on the GPU that a trainer holds, beside what was there before it. */
static void format_planned(const pupil *p, uint64_t before, const char *when)
{
    const hyb_transformer *made = hyb_transformer_of(p->t->objective);
    const uint64_t taken = hyb_cuda_device_of(p->rt->gpu)->cu->arena.used - before + made->memory.host_bytes;
    CHECK(p->t->plan.total == taken + p->t->plan.other, "%s: %llu bytes planned, %llu were taken", when,
          (unsigned long long)p->t->plan.total, (unsigned long long)(taken + p->t->plan.other));
}

/* A format on the CPU and on the GPU; then the GPU goes to fp32 and back, and a factor of the loss is too large. A
 * value in the middle between two numbers of the format may be rounded otherwise: losses are no nearer than that. */
static void check_format(const char *name, hybrid_type format, bool own)
{
    const double near = format == HYBRID_TYPE_BF16 ? 3e-3 : 5e-4;
    const char *path = "build/cuda-format.gguf";
    pupil p[2];
    int32_t ids[PUPIL_ROWS], targets[PUPIL_ROWS];
    hybrid_trainer_desc d;
    hybrid_train_batch batch;
    hybrid_train_metrics a[2];
    hybrid_error err;
    uint64_t before;
    double loss[3] = { 0, 0, 0 };
    int i, k;
    if (!test_wanted_as("training %s, format %d", name, (int)format)) return;
    memset(&d, 0, sizeof d);
    memset(&batch, 0, sizeof batch);
    d.rate = 1e-3f;
    d.clip = 1;
    d.format = format;
    for (k = 0; k < 2; k++)
        if (!pupil_open(&p[k], name, k == 1, d)) return;
    if (own) hyb_cuda_device_of(p[1].rt->gpu)->cu->blas_state = 2; /* as if there were no cuBLAS */
    before = hyb_cuda_device_of(p[1].rt->gpu)->cu->arena.used +
             hyb_transformer_of(p[1].t->objective)->memory.host_bytes + p[1].t->plan.other - p[1].t->plan.total;
    CHECK(p[1].t->plan.rounded >= 2 * (uint64_t)p[1].t->store.n_values && !p[0].t->plan.rounded,
          "%llu bytes of rounded weights", (unsigned long long)p[1].t->plan.rounded);
    batch.ids = ids;
    batch.targets = targets;
    for (i = 0; i < PUPIL_ROWS; i++) {
        ids[i] = (i * i * 13 + 7 * i) % p[0].m->hp.n_vocab;
        targets[i] = (ids[i] * 5 + 3) % p[0].m->hp.n_vocab;
    }
    for (i = 0; i < 3; i++) {
        for (k = 0; k < 2; k++) CHECK(!hybrid_trainer_step(p[k].t, &batch, &a[k], &err), "%s: %s", name, err.message);
        CHECK(fabs(a[0].loss - a[1].loss) < near && a[1].format == format && !a[1].skipped, "%s: losses %.9g, %.9g",
              name, a[0].loss, a[1].loss);
        CHECK(fabs(a[0].grad_norm / a[1].grad_norm - 1) < 10 * near, "norms %g and %g", a[0].grad_norm, a[1].grad_norm);
    }
    printf("  %s, %s%s: 3 steps, the last losses %.1e apart\n", name, hyb_format_name(format), own ? ", own" : "",
           fabs(a[0].loss - a[1].loss));
    CHECK(!hybrid_trainer_save(p[0].t, path, &err), "%s", err.message);
    /* to fp32, with the memory of fp32, and back: the bytes of both are counted */
    CHECK(!hybrid_trainer_evaluate(p[1].t, &batch, &loss[0], &err), "%s", err.message);
    CHECK(!hybrid_trainer_set_format(p[1].t, HYBRID_TYPE_F32, &err), "%s", err.message);
    CHECK(p[1].t->plan.rounded == 0 && p[1].t->format.bytes == 0, "fp32 keeps rounded weights");
    format_planned(&p[1], before, "fp32");
    CHECK(!hybrid_trainer_evaluate(p[1].t, &batch, &loss[1], &err), "%s", err.message);
    CHECK(loss[1] != loss[0] && fabs(loss[1] - loss[0]) < 2e-2, "%.9g in fp32", loss[1]);
    /* the CPU's checkpoint brings the format back */
    CHECK(!hybrid_trainer_load(p[1].t, path, &err) && p[1].t->format.type == format, "%s", err.message);
    format_planned(&p[1], before, "after a checkpoint");
    for (k = 0; k < 2; k++) CHECK(!hybrid_trainer_evaluate(p[k].t, &batch, &loss[k], &err), "%s", err.message);
    CHECK(fabs(loss[0] - loss[1]) < near, "losses %.9g, %.9g from a checkpoint", loss[0], loss[1]);
    CHECK(!hybrid_trainer_set_format(p[1].t, HYBRID_TYPE_F32, &err) &&
              !hybrid_trainer_set_format(p[1].t, HYBRID_TYPE_F16, &err),
          "%s", err.message);
    CHECK(p[1].t->format.bytes == 6 * (uint64_t)p[1].t->store.n_values && p[1].t->format.n_changes == 2,
          "%d changes moved %llu bytes", (int)p[1].t->format.n_changes, (unsigned long long)p[1].t->format.bytes);
    format_planned(&p[1], before, "fp16");
    CHECK(!hybrid_trainer_evaluate(p[1].t, &batch, &loss[0], &err), "%s", err.message);
    p[1].t->format.scale = ldexp(1, 50);
    CHECK(!hybrid_trainer_step(p[1].t, &batch, &a[1], &err) && a[1].skipped && p[1].t->format.scale == ldexp(1, 49),
          "a gradient that is too large for fp16 is not noticed");
    CHECK(!hybrid_trainer_evaluate(p[1].t, &batch, &loss[1], &err) && loss[0] == loss[1], "a skipped step: %.9g, %.9g",
          loss[0], loss[1]);
    remove(path);
    for (k = 0; k < 2; k++) pupil_close(&p[k]);
}

static void check_training(void)
{
    const bool slow = getenv("EMU_CHECK") != NULL;
    hybrid_trainer_desc d;
    memset(&d, 0, sizeof d);
    TEST("training");
    check_trained("gpt2", slow ? 1 : 5, d);
    check_format("gpt2", HYBRID_TYPE_BF16, slow);
    check_trained("lfm2", slow ? 1 : 4, d);
    check_trained("qwen2moe", slow ? 1 : 4, d);
    if (slow) check_trained("rwkv7", 1, d);
    if (slow) return;
    check_trained("mixtral", 2, d);
    check_trained("arwkv7", 2, d);
    check_format("llama", HYBRID_TYPE_F16, true);
    check_trained("llama", 5, d);
    check_trained("gemma2", 3, d); /* windows, soft-caps, norms after parts */
    d.recompute_every = 1;
    check_trained("qwen3", 3, d); /* norms of heads */
    check_trained("qwen3moe", 2, d);
    d.ema = 0.9f;
    d.optimizer = HYBRID_OPTIMIZER_MUON;
    check_trained("gpt2", 3, d);
    d.n_batches = 2; /* the noise of gradients, too */
    check_trained("llama", 2, d);
    if (!getenv("EMU_ORDER")) {
        check_trained("qwen3", 2, d);
        check_trained("gemma2", 2, d);
    }
    d.n_batches = 0;
    d.optimizer = HYBRID_OPTIMIZER_SGD;
    d.momentum = 0.9f;
    d.nesterov = true;
    check_trained("llama", 3, d);
    /* AdamW makes of rounding what weights that moved by 1e-7 make of it on the CPU, too: losses 1e-4 apart */
    check_trained("rwkv7", 4, d);
}

#include "train_offload.h"
#include "train_failures.h"
#include "saved.h"

/* The bytes of a saved sequence. */
static saved_blob saved_whole(hybrid_context *c, int32_t seq, bool recompute)
{
    saved_blob b;
    hybrid_save_desc d;
    hybrid_target to;
    hybrid_error err;
    memset(&b, 0, sizeof b);
    memset(&d, 0, sizeof d);
    memset(&to, 0, sizeof to);
    d.recompute = recompute;
    to.write = saved_put;
    to.user = &b;
    CHECK(!hybrid_seq_save(c, seq, &d, &to, &err), "%s", err.message);
    return b;
}

/* Loaded into sequence 1, which goes on as near to the one that was saved as the GPU is to the CPU. */
static void saved_crosses(hybrid_context *from, hybrid_context *to, int n_vocab, bool recompute)
{
    saved_blob b = saved_whole(from, 0, recompute);
    hybrid_source source;
    hybrid_error err;
    double apart;
    memset(&source, 0, sizeof source);
    source.data = b.bytes;
    source.size = b.size;
    CHECK(!hybrid_seq_remove(to, 1, 0, &err) && !hybrid_seq_load(to, 1, NULL, &source, &err), "%s", err.message);
    CHECK(!hybrid_seq_fork(from, 0, 2, &err), "%s", err.message);
    saved_decode(from, 2, 31, 2);
    saved_decode(to, 1, 31, 2);
    apart = relative(hybrid_logits(from, 2), n_vocab, hybrid_logits(to, 1), 1, n_vocab);
    CHECK(apart < 5e-3, "it goes on %g apart, recompute %d", apart, recompute);
    free(b.bytes);
}

/* Between the slices of a decode of a GPU: what is saved is what was there before it, and the decode goes on. */
static void saved_meanwhile(hybrid_context *c, hybrid_context *other, int n_vocab)
{
    const saved_blob before = saved_whole(c, 0, false);
    int32_t ids[64], i;
    hybrid_error err;
    bool done = false;
    for (i = 0; i < 64; i++) ids[i] = 3 + i;
    CHECK(!hybrid_batch_add(c, 0, ids, 64, &err) && !hybrid_batch_add(other, 0, ids, 64, &err), "%s", err.message);
    for (i = 0; !done; i++) {
        CHECK(!hybrid_decode_step(c, 0, &done, &err), "%s", err.message);
        if (!done) {
            saved_blob b = saved_whole(c, 0, false);
            /* where there is a state, the way back is given up when a decode begins */
            CHECK(c->state.slots.n || (b.size == before.size && !memcmp(b.bytes, before.bytes, b.size)), "other bytes");
            free(b.bytes);
        }
    }
    CHECK(i > 1, "%d slices", i);
    CHECK(!hybrid_decode(other, &err), "%s", err.message);
    CHECK(saved_same(c, 0, other, 0, n_vocab), "saving in between has changed the logits");
    free(before.bytes);
}

/* The state of a sequence leaves the GPU and comes back in another context, which goes on with the same bits; and a
 * context on the CPU goes on from it, as near as the GPU's own logits. */
static void check_saved(const char *path)
{
    hybrid_context *c[3] = { NULL, NULL, NULL };
    hybrid_runtime *rt[2] = { NULL, NULL };
    hybrid_model *m[2] = { NULL, NULL };
    hybrid_context_desc cd;
    hybrid_error err;
    saved_blob one, two;
    double apart;
    int k, n_vocab;
    TEST("a state leaves the GPU");
    if (!test_wanted_as("saved %s", path)) return;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 192;
    cd.n_seq = 3;
    cd.n_batch = 64;
    for (k = 0; k < 2; k++) {
        hybrid_runtime_desc rd;
        hybrid_model_desc md;
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        rd.device = k ? "cuda" : "cpu";
        md.path = path;
        CHECK(!hybrid_runtime_create(&rd, &rt[k], &err), "%s", err.message);
        CHECK(!hybrid_model_load(rt[k], &md, &m[k], &err), "%s", err.message);
    }
    for (k = 0; k < 3; k++) CHECK(!hybrid_context_create(m[k > 0], &cd, &c[k], &err), "%s", err.message);
    if (!c[0] || !c[1] || !c[2]) return;
    n_vocab = m[0]->hp.n_vocab;
    check_place(m[1]);
    saved_move(c[1], c[2], n_vocab);
    one = saved_of(c[2], 1);
    CHECK(!saved_read(c[0], 2, &one, &err), "%s", err.message);
    two = saved_of(c[0], 2);
    CHECK(one.size == two.size && !memcmp(one.bytes, two.bytes, one.size), "the CPU writes other bytes");
    saved_decode(c[0], 2, 31, 1);
    saved_decode(c[2], 1, 31, 1);
    apart = relative(hybrid_logits(c[2], 1), n_vocab, hybrid_logits(c[0], 2), 1, n_vocab);
    CHECK(apart < 5e-3, "the CPU goes on %g apart", apart);
    free(one.bytes);
    free(two.bytes);
    for (k = 0; k < 3; k++) {
        int32_t seq;
        for (seq = 0; seq < 3; seq++) CHECK(!hybrid_seq_remove(c[k], seq, 0, &err), "%s", err.message);
        saved_decode(c[k], 0, 7, 50);
    }
    for (k = 0; k < 2; k++) {
        saved_crosses(c[0], c[1], n_vocab, k == 1);
        saved_crosses(c[1], c[0], n_vocab, k == 1);
    }
    for (k = 1; k < 3; k++) CHECK(!hybrid_seq_remove(c[k], 1, 0, &err) && !hybrid_seq_remove(c[k], 2, 0, &err), "room");
    saved_meanwhile(c[1], c[2], n_vocab);
    for (k = 0; k < 3; k++) hybrid_context_destroy(c[k]);
    for (k = 0; k < 2; k++) hybrid_model_destroy(m[k]);
    for (k = 0; k < 2; k++) hybrid_runtime_destroy(rt[k]);
}

int main(void)
{
    const int n = getenv("EMU_CHECK") ? 3 : getenv("EMU_ORDER") ? 20 : 60;
    hybrid_error why;
    size_t count;
    TEST("device");
    if (hybrid_devices(NULL, NULL, 0, &count, &why) || !count) {
        SKIP("no GPU: %s", why.message);
        return test_end();
    }
    check_training();
    check_offload();
    check_apprentices();
    check_failures();
    check_all_models();
    if (!getenv("EMU_ORDER") && !getenv("EMU_CHECK")) {
        TEST("models with a state, warm");
        check_mixture("tests/oracle/data/models/rwkv7.gguf", 20);
        check_mixture("tests/oracle/data/models/lfm2.gguf", 20);
        TEST("sequences with a state take turns");
        check_turns("tests/oracle/data/models/rwkv7.gguf");
        check_turns("tests/oracle/data/models/lfm2.gguf");
        check_saved("tests/oracle/data/models/rwkv7.gguf");
        check_saved("tests/oracle/data/models/lfm2.gguf");
        TEST("a mixture of experts, warm");
        check_mixture("tests/oracle/data/models/qwen2moe.gguf", 20);
        check_quantized("mixtral", HYBRID_MIX_Q8_0, 4, 0.05);
        check_quantized("qwen3moe", HYBRID_MIX_Q4_0, 9, 0.5);
        check_quantized_as("mixtral", HYBRID_MIX_Q8_0, HYBRID_TYPE_IQ4_NL, 4, 0.5);
    }
    check_saved("tests/oracle/data/models/llama.gguf");
    check_worn("tests/oracle/data/models/llama.gguf", true);
    if (!getenv("EMU_ORDER") && !getenv("EMU_CHECK")) check_worn("tests/oracle/data/models/rwkv7.gguf", true);
    if (!getenv("EMU_ORDER")) check_worn("tests/oracle/data/models/qwen2moe.gguf", false); /* experts of their own */
    TEST("stories260K");
    check_against_cpu(data_path("models/stories260K/stories260K.gguf"), HYBRID_KV_F32, n, 1e-4, 0);
    check_against_cpu(data_path("models/stories260K/stories260K.gguf"), HYBRID_KV_F16, n, 5e-3, 1e-2);
    check_against_cpu(data_path("models/stories260K/stories260K-BF16.gguf"), HYBRID_KV_F16, n, 1e-2, 5e-2);
    check_against_cpu(data_path("models/stories260K/stories260K-Q4_K_M.gguf"), HYBRID_KV_F16, n, 3e-2, 0.2);
    check_against_cpu("examples/data/stories260K-q8_0.gguf", HYBRID_KV_F16, n, 3e-2, 0.2);
    return test_end();
}
