/* What happens when a GPU, or something of it, is not there or breaks [emu] [no-asan]: the text goes on as the CPU
 * would have written it; memory: what hybrid_plan says is what is taken, and layers that do not fit run on the CPU.
 * Failures are injected in the emulator (EMU_FAIL). */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include "emu/counters.h"
#include <math.h>
#include <sys/wait.h>

enum { MAX = 64 };
static const char *model_path;
static char said[16384];
static const emu_counts *counts;

static void listen_log(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    (void)level;
    if (strlen(said) + strlen(message) + 2 < sizeof said) {
        strcat(said, message);
        strcat(said, "\n");
    }
}

typedef struct setup {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *ctx;
} setup;

static void end(setup *s)
{
    hybrid_context_destroy(s->ctx);
    hybrid_model_destroy(s->model);
    hybrid_runtime_destroy(s->rt);
    memset(s, 0, sizeof *s);
    unsetenv("EMU_FAIL");
}

static int32_t n_batch = 32;

static bool begin(setup *s, const char *device, uint64_t max_bytes, const char *cache)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_error err;
    bool ok;
    memset(s, 0, sizeof *s);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    said[0] = 0;
    rd.device = device;
    rd.max_device_bytes = max_bytes;
    rd.kernel_cache.path = cache;
    rd.logger.log = listen_log;
    md.path = model_path;
    md.device_n_ctx = 128;
    cd.n_ctx = 128;
    cd.n_seq = 3;
    cd.kv = HYBRID_KV_F32;
    cd.n_batch = n_batch;
    cd.n_candidates = 64;
    ok = !hybrid_runtime_create(&rd, &s->rt, &err) && !hybrid_model_load(s->rt, &md, &s->model, &err) &&
         !hybrid_context_create(s->model, &cd, &s->ctx, &err);
    CHECK(ok, "%s", err.message);
    if (!ok) end(s);
    return ok;
}

static int32_t best(const float *v, int n)
{
    int i, b = 0;
    for (i = 1; i < n; i++)
        if (v[i] > v[b]) b = i;
    return b;
}

static bool step(setup *s, int32_t seq, const int32_t *ids, int n)
{
    hybrid_error err;
    bool ok = !hybrid_batch_add(s->ctx, seq, ids, (size_t)n, &err) && !hybrid_decode(s->ctx, &err);
    CHECK(ok, "%s", err.message);
    return ok;
}

/* A prompt in sequence 0; a fork of it goes another way; both write in turn. 2 * n tokens. Logits of the last ones. */
static void talk(setup *s, int n, int32_t *out, float *logits)
{
    static const int32_t start[] = { 1,   403, 407, 261, 378, 432, 265, 268, 388, 426,
                                     385, 328, 432, 363, 403, 407, 261, 378, 432 },
                         other[] = { 268 };
    const int n_vocab = hybrid_vocab_size(hybrid_model_tokenizer(s->model));
    hybrid_error err;
    int i, k;
    if (!step(s, 0, start, 19)) return;
    out[0] = best(hybrid_logits(s->ctx, 0), n_vocab);
    CHECK(!hybrid_seq_fork(s->ctx, 0, 2, &err), "%s", err.message);
    if (!step(s, 2, other, 1)) return;
    out[1] = best(hybrid_logits(s->ctx, 2), n_vocab);
    for (i = 2; i < 2 * n; i += 2)
        for (k = 0; k < 2; k++) {
            if (!step(s, 2 * k, &out[i + k - 2], 1)) return;
            out[i + k] = best(hybrid_logits(s->ctx, 2 * k), n_vocab);
        }
    memcpy(logits, hybrid_logits(s->ctx, 2), (size_t)n_vocab * sizeof *logits);
}

static int32_t cpu_ids[2 * MAX];
static float cpu_logits[1024];

static void expect_cpu_text(setup *s, const char *what, int n)
{
    static float logits[1024];
    int32_t ids[2 * MAX];
    int i, wrong = 0;
    double worst = 0;
    memset(ids, 0xFF, sizeof ids);
    talk(s, n, ids, logits);
    for (i = 0; i < 2 * n; i++) wrong += ids[i] != cpu_ids[i];
    CHECK(!wrong, "%s: %d of %d tokens are not the CPU's", what, wrong, 2 * n);
    for (i = 0; n == MAX && i < 512; i++)
        worst = fabs(logits[i] - cpu_logits[i]) > worst ? fabs(logits[i] - cpu_logits[i]) : worst;
    CHECK(worst < 1e-3, "%s: logits are %g apart", what, worst);
}

static int layers_on_gpu(const setup *s)
{
    hybrid_model_info info;
    hybrid_model_describe(s->model, &info);
    return info.n_layer_device;
}

static hyb_cuda *cuda_of(const setup *s) { return s->rt->gpu ? hyb_cuda_device_of(s->rt->gpu)->cu : NULL; }

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void test_plan(void)
{
    setup s;
    hybrid_memory_plan plan;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_error err;
    int n = 0, layers, before = -1;
    uint64_t cap, all = 0;
    TEST("memory");
    n_batch = 8; /* no room for cuBLAS is planned: the model is smaller than that */
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = model_path;
    md.device_n_ctx = 128;
    cd.n_ctx = 128;
    cd.n_seq = 3;
    cd.kv = HYBRID_KV_F32;
    cd.n_batch = n_batch;
    cd.n_candidates = 64;
    for (cap = 100000; before < 5 && cap < 100 << 20; cap += cap / 4, n++) {
        if (!begin(&s, NULL, cap, NULL)) return;
        /* beside the model that is there: what it would take once more */
        CHECK(!hybrid_plan(s.rt, &md, &cd, &plan, &err), "%s", err.message);
        layers = layers_on_gpu(&s);
        CHECK(layers >= before, "%d layers, then %d with more memory; %llu of %llu bytes", before, layers,
              (unsigned long long)cuda_of(&s)->arena.total, (unsigned long long)cap);
        CHECK(cuda_of(&s)->arena.total <= cap, "%d layers, then %d with more memory; %llu of %llu bytes", before,
              layers, (unsigned long long)cuda_of(&s)->arena.total, (unsigned long long)cap);
        CHECK(layers == 0 || !s.ctx->forward.stages[s.ctx->forward.n_stages - 1].device->ops->is_host,
              "%d layers lie on the GPU, but the context had no room there: %s", layers, said);
        CHECK(layers == 5 || strstr(said, "on the CPU"), "the log does not say why layers are on the CPU: %s", said);
        if (layers != before) expect_cpu_text(&s, "part of the layers", 8);
        before = layers;
        end(&s);
    }
    CHECK(before == 5, "%d layers fit in the end", before);
    CHECK(n > 3, "%d layers fit in the end", before);
    n_batch = cd.n_batch = 32;
    /* where blocks as large as the driver likes them would not leave room for all */
    for (cap = 9 << 20; cap < 18 << 20; cap += 700000) {
        if (!begin(&s, NULL, cap, NULL)) return;
        CHECK(!layers_on_gpu(&s) || !s.ctx->forward.stages[s.ctx->forward.n_stages - 1].device->ops->is_host,
              "%d layers lie on the GPU, but the context had no room there: %s", layers_on_gpu(&s), said);
        end(&s);
    }
    /* the plan, and what is then taken */
    if (!begin(&s, NULL, 0, NULL)) return;
    all = cuda_of(&s)->arena.used;
    CHECK(cuda_of(&s)->n_device_allocations <= 4, "%u device allocations", cuda_of(&s)->n_device_allocations);
    hybrid_context_destroy(s.ctx);
    s.ctx = NULL;
    hybrid_model_destroy(s.model);
    s.model = NULL;
    CHECK(cuda_of(&s)->arena.used == 0, "%llu bytes of device memory are left",
          (unsigned long long)cuda_of(&s)->arena.used);
    CHECK(!hybrid_plan(s.rt, &md, &cd, &plan, &err), "planned %llu bytes, %llu were taken",
          (unsigned long long)plan.device, (unsigned long long)all);
    CHECK(plan.device == all, "planned %llu bytes, %llu were taken", (unsigned long long)plan.device,
          (unsigned long long)all);
    CHECK(plan.n_layer_device == 5, "planned %llu bytes, %llu were taken", (unsigned long long)plan.device,
          (unsigned long long)all);
    md.no_map = true;
    CHECK(!hybrid_plan(s.rt, &md, &cd, &plan, &err), "of a model that is read: planned %llu bytes",
          (unsigned long long)plan.device);
    CHECK(plan.device == all, "of a model that is read: planned %llu bytes", (unsigned long long)plan.device);
    CHECK(plan.n_layer_device == 5, "of a model that is read: planned %llu bytes", (unsigned long long)plan.device);
    end(&s);
    if (counts) CHECK(counts->bytes == 0, "%llu bytes of device memory are left", counts->bytes);
}

static void count_traces(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                         int64_t row_stride)
{
    (void)name;
    (void)layer;
    (void)data;
    (void)n_rows;
    (void)n_cols;
    (void)row_stride;
    ++*(int *)user;
}

/* After a warm-up no kernel is missing, whatever a batch asks for; it runs nothing, and shows nothing. */
static void test_warmup(void)
{
    setup s;
    hybrid_context_desc cd;
    hybrid_error err;
    int32_t ids[70];
    int i, traces = 0;
    TEST("warm-up");
    if (!begin(&s, NULL, 0, "")) return;
    for (i = 0; i < 70; i++) ids[i] = 403;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 256;
    cd.n_batch = 96;
    cd.n_logits = 96;
    cd.n_seq = 12;
    cd.trace = count_traces;
    cd.trace_user = &traces;
    hybrid_context_destroy(s.ctx);
    CHECK(!hybrid_context_create(s.model, &cd, &s.ctx, &err), "%d traces: %s", traces, err.message);
    CHECK(!hybrid_warmup(s.ctx, NULL, NULL, &err), "%d traces: %s", traces, err.message);
    CHECK(traces == 0, "%d traces: %s", traces, err.message);
    cd.trace = NULL;
    hybrid_context_destroy(s.ctx);
    CHECK(!hybrid_context_create(s.model, &cd, &s.ctx, &err) && !hybrid_warmup(s.ctx, NULL, NULL, &err), "%s",
          err.message);
    if (counts) setenv("EMU_FAIL", "nvrtcCompileProgram:1+", 1);
    for (i = 0; i < 12; i++) CHECK(!hybrid_batch_add(s.ctx, i, ids, 1, &err), "%s", err.message);
    CHECK(!hybrid_decode(s.ctx, &err), "%s", err.message);
    CHECK(!hybrid_batch_add_logits(s.ctx, 0, ids, 40, 40, &err) && !hybrid_decode(s.ctx, &err), "%s", err.message);
    CHECK(!hybrid_batch_add_logits(s.ctx, 1, ids, 70, 70, &err) && !hybrid_decode(s.ctx, &err), "%s", err.message);
    CHECK(!hybrid_batch_add_logits(s.ctx, 2, ids, 70, 3, &err) && !hybrid_decode(s.ctx, &err), "%s", err.message);
    CHECK(!strstr(said, "without the GPU"), "%s", said);
    end(&s);
}

/* What a device cannot do is known before anything is uploaded. */
static void test_limits(void)
{
    setup s;
    hybrid_model_desc md;
    hybrid_error err;
    hybrid_model *m = NULL;
    TEST("limits");
    CHECK(hyb_cuda_attends(256, 256, 64 << 10), "sizes of heads");
    CHECK(!hyb_cuda_attends(64, 257, 227 << 10), "sizes of heads");
    CHECK(!hyb_cuda_attends(2048, 64, 227 << 10), "sizes of heads");
    if (!begin(&s, NULL, 0, NULL)) return;
    memset(&md, 0, sizeof md);
    md.path = model_path;
    s.model->hp.head_dim_v = 320; /* as hyb_place_choose would see it */
    {
        hyb_place place;
        hybrid_context_desc cd;
        CHECK(!hyb_context_defaults(&s.model->hp, NULL, &cd, &err), "%s", err.message);
        hyb_place_choose(&place, s.rt->gpu, &s.model->net, &s.model->weights, &s.model->hp, &cd, &err);
        CHECK(!place.gpu, "%s", err.message);
        CHECK(strstr(err.message, "320"), "%s", err.message);
    }
    s.model->hp.head_dim_v = s.model->hp.head_dim_k;
    CHECK(!hybrid_model_load(s.rt, &md, &m, &err), "%s", err.message);
    hybrid_model_destroy(m);
    end(&s);
    if (!counts) return;
    setenv("EMU_SM", "70", 1);
    if (begin(&s, NULL, 0, NULL)) {
        CHECK(layers_on_gpu(&s) == 0, "an old GPU: %s", said);
        CHECK(strstr(said, "7.5"), "an old GPU: %s", said);
        end(&s);
    }
    unsetenv("EMU_SM");
}

/* ---- the next token without all logits --------------------------------------------------------------------------- */

/* Penalties, chances and a seed. */
static hybrid_sampler_desc sampler_of(float repetition, float frequency, int32_t last_n, float temperature,
                                      int32_t top_k, float top_p, float typical_p, uint64_t seed)
{
    hybrid_sampler_desc d;
    memset(&d, 0, sizeof d);
    d.repetition_penalty = repetition;
    d.frequency_penalty = d.presence_penalty = frequency;
    d.penalty_last_n = last_n;
    d.temperature = temperature;
    d.top_k = top_k;
    d.top_p = top_p;
    d.min_p = top_k == 40 ? 0.01f : 0;
    d.typical_p = typical_p;
    d.seed = seed;
    return d;
}

static void test_next(void)
{
    static const int32_t start[] = { 1, 403, 407, 261, 378 };
    const hybrid_sampler_desc kinds[] = { sampler_of(0, 0, 0, 0, 0, 0, 0, 0),
                                          sampler_of(1.2f, 0.1f, 30, 0, 0, 0, 0, 0),
                                          sampler_of(0, 0, 0, 1.2f, 40, 0.95f, 0, 7),
                                          sampler_of(1.1f, 0, 16, 0.9f, 100, 0, 0.9f, 5),
                                          sampler_of(0, 0, 0, 1, 0, 0.9f, 0, 3),
                                          sampler_of(1.1f, 0, 400, 0, 0, 0, 0, 0) };
    setup s;
    size_t i;
    int k, n_vocab;
    TEST("the next token");
    if (!begin(&s, NULL, 0, NULL)) return;
    n_vocab = hybrid_vocab_size(hybrid_model_tokenizer(s.model));
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        hybrid_context_desc cd;
        hybrid_context *c[2];
        hybrid_sampler *sampler[2];
        hybrid_error err;
        int32_t id[2] = { 0, 0 };
        int n;
        uint64_t bytes = 0;
        memset(&cd, 0, sizeof cd);
        cd.n_ctx = 128;
        for (k = 0; k < 2; k++) {
            if (k) cd.n_candidates = hybrid_sampler_candidates(&kinds[i]);
            CHECK(!hybrid_context_create(s.model, &cd, &c[k], &err) &&
                      !hybrid_sampler_create(NULL, &kinds[i], &sampler[k], &err),
                  "%s", err.message);
            CHECK(!hybrid_batch_add(c[k], 0, start, 5, &err), "%s", err.message);
        }
        CHECK((cd.n_candidates > 0) == (i < 4), "kind %d: %d candidates", (int)i, cd.n_candidates);
        for (n = 0; n < 30 && id[0] == id[1]; n++) {
            for (k = 0; k < 2; k++) {
                CHECK(!hybrid_decode(c[k], &err), "%s", err.message);
                id[k] = hybrid_sample_next(sampler[k], c[k], 0, NULL);
                hybrid_sampler_accept(sampler[k], id[k]);
                CHECK(id[k] >= 0, "%d", id[k]);
                CHECK(!hybrid_batch_add(c[k], 0, &id[k], 1, &err), "%d", id[k]);
            }
            CHECK(id[0] == id[1], "kind %d, token %d: %d without all logits, %d with them", (int)i, n, id[1], id[0]);
        }
        bytes = ((hyb_cuda_backend *)c[1]->forward.stages[0].be)->queue->bytes_read;
        if (cd.n_candidates)
            CHECK(bytes <= (uint64_t)n * (256 * 8 + 8), "%llu bytes were read", (unsigned long long)bytes);
        /* and who asks for the logits gets them */
        for (k = 0; k < 2; k++) CHECK(!hybrid_decode(c[k], &err), "%s", err.message);
        CHECK(!memcmp(hybrid_logits(c[0], 0), hybrid_logits(c[1], 0), (size_t)n_vocab * sizeof(float)), "other logits");
        for (k = 0; k < 2; k++) {
            hybrid_context_destroy(c[k]);
            hybrid_sampler_destroy(sampler[k]);
        }
    }
    end(&s);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void test_failures(void)
{
    /* clang-format off */
    static const struct {
        const char *fail, *log;
        bool gpu;
    } cases[] = {
        { "nvrtcCompileProgram:1+", "without the GPU", true }, { "nvrtcCompileProgram:4", "without the GPU", true },
        { "cuModuleLoadData:1+,cuModuleLoadDataEx:1+", "without the GPU", true },
        { "cuStreamCreate:2", "on the CPU", true },
        { "cuStreamBeginCapture:1+", "without CUDA graphs", true },
        { "cuGraphInstantiateWithFlags:1+", "without CUDA graphs", true },
        { "cuStreamEndCapture:1", "without CUDA graphs", true },
        { "cuMemHostAlloc:1+", NULL, true }, { "cublasCreate:1+", NULL, true },
        { "cuMemcpyHtoDAsync:1+", "on the CPU", false },
        { "cuInit:1:100", "on the CPU", false }, { "cuDevicePrimaryCtxRetain:1:2", "on the CPU", false },
        { "cuDeviceGet:1+", "on the CPU", false }
    };
    /* clang-format on */
    setup s;
    size_t i;
    TEST("failures");
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("EMU_FAIL", cases[i].fail, 1);
        if (!begin(&s, NULL, 0, "")) continue;
        CHECK((layers_on_gpu(&s) == 5) == cases[i].gpu, "%s: %d layers on the GPU", cases[i].fail, layers_on_gpu(&s));
        expect_cpu_text(&s, cases[i].fail, 8);
        CHECK(!cases[i].log || strstr(said, cases[i].log), "%s: the log does not say '%s' but: %s", cases[i].fail,
              cases[i].log, said);
        end(&s);
    }
}

/* What fails once, while a pass is recorded or run from its record, costs that record. */
static void test_graph_failures(void)
{
    static const char *const cases[] = { "cuStreamBeginCapture:1", "cuLaunchKernel:5:901", "cuLaunchKernel:9:900",
                                         "cuGraphLaunch:1:2", "cuGraphLaunch:1:900" };
    static const int32_t start[] = { 1, 403, 407, 261 };
    setup s;
    size_t i;
    int k;
    uint64_t before;
    hyb_cuda_queue *q;
    TEST("a graph fails");
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!begin(&s, NULL, 0, NULL)) return;
        if (!step(&s, 0, start, 4) || !step(&s, 0, start + 1, 1)) return;
        setenv("EMU_FAIL", cases[i], 1);
        if (!step(&s, 0, start + 1, 1)) return;
        unsetenv("EMU_FAIL");
        CHECK(strstr(said, "without CUDA graphs for once"), "%s: %s", cases[i], said);
        CHECK(!strstr(said, "without the GPU"), "%s: %s", cases[i], said);
        CHECK(!s.ctx->forward.stages[0].device->ops->is_host, "%s: %s", cases[i], said);
        if (s.ctx->forward.stages[0].device->ops->is_host) {
            end(&s);
            continue;
        }
        q = ((hyb_cuda_backend *)s.ctx->forward.stages[0].be)->queue;
        before = q->n_graph_launches;
        for (k = 0; k < 3; k++)
            if (!step(&s, 0, start + 1, 1)) return;
        CHECK(q->n_graph_launches == before + 3, "%s: %d graphs run in 3 steps", cases[i],
              (int)(q->n_graph_launches - before));
        CHECK(!hybrid_seq_remove(s.ctx, 0, 0, NULL), "empty");
        expect_cpu_text(&s, cases[i], 8);
        end(&s);
    }
}

/* Between two calls of a decode that is done in slices, the host may do with the device what it likes: no capture is
 * open. */
static void test_slices(void)
{
    static const int32_t start[] = { 1, 403, 407, 261 };
    setup s;
    int (*synchronize)(void) = NULL;
    hyb_cuda_caller caller;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD),
         *function = library ? dlsym(library, "cuCtxSynchronize") : NULL;
    hyb_cuda_queue *q;
    hybrid_error err;
    uint64_t cap;
    int i, parts, slices = 0, code, bad = 0;
    bool done;
    TEST("slices");
    memcpy(&synchronize, &function, sizeof function);
    n_batch = 8;
    for (parts = 1; parts <= 2; parts++) { /* all layers on the GPU, and some */
        for (cap = 100 << 20; begin(&s, NULL, cap, NULL) && s.ctx->forward.n_stages < parts && cap > 100000;
             cap -= cap / 8)
            end(&s);
        CHECK(s.ctx && s.ctx->forward.n_stages == parts, "no %d stages", parts);
        CHECK(synchronize, "no %d stages", parts);
        if (!s.ctx || s.ctx->forward.n_stages != parts || !step(&s, 0, start, 4)) return;
        said[0] = 0;
        q = ((hyb_cuda_backend *)s.ctx->forward.stages[s.ctx->forward.n_stages - 1].be)->queue;
        for (i = 0; i < 6; i++) {
            CHECK(!hybrid_batch_add(s.ctx, 0, start + 1, 1, &err), "%s", err.message);
            for (done = false; !done; slices++) {
                CHECK(!hybrid_decode_step(s.ctx, 0, &done, &err), "%s", err.message);
                if (said[0]) {
                    CHECK(0, "%s", said);
                    end(&s);
                    return;
                }
                caller = hyb_cuda_enter(q->cu);
                if ((code = synchronize ? synchronize() : 0) != 0) bad = code;
                hyb_cuda_leave(q->cu, caller);
                if (i != 3 || slices % 3) continue;
                hybrid_batch_clear(s.ctx); /* given up in the middle of a replay */
                break;
            }
        }
        CHECK(!bad, "synchronising gives %d, %d graphs: %s", bad, (int)q->n_graph_launches, said);
        CHECK(q->n_graph_launches >= 3, "synchronising gives %d, %d graphs: %s", bad, (int)q->n_graph_launches, said);
        CHECK(!said[0], "synchronising gives %d, %d graphs: %s", bad, (int)q->n_graph_launches, said);
        CHECK(!hybrid_seq_remove(s.ctx, 0, 0, NULL), "empty");
        expect_cpu_text(&s, "slices", 8);
        end(&s);
    }
    n_batch = 32;
    CHECK(slices > 12, "%d slices", slices);
}

/* The host records a graph of its own, in the strictest mode, on this very thread: neither disturbs the other. */
static void test_foreign_capture(void)
{
    static const int32_t start[] = { 1, 403, 407, 261 };
    int (*begin_capture)(void *, int) = NULL, (*end_capture)(void *, void **) = NULL, (*exchange)(int *) = NULL;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD), *f, *graph, *stream = NULL;
    const hyb_driver_api *api;
    hyb_cuda_caller caller;
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hyb_device *device = NULL;
    hyb_cuda *cu;
    hybrid_error err;
    setup s;
    int i, mode;
    TEST("a graph of the host's");
    memset(&rd, 0, sizeof rd);
    CHECK(library, "%s", err.message);
    CHECK(!hybrid_runtime_create(&rd, &rt, &err), "%s", err.message);
    CHECK(!hyb_runtime_gpu(rt, &device, &err), "%s", err.message);
    CHECK(device, "%s", err.message);
    if (!library || !device) return;
    f = dlsym(library, "cuStreamBeginCapture_v2");
    memcpy(&begin_capture, &f, sizeof f);
    f = dlsym(library, "cuStreamEndCapture");
    memcpy(&end_capture, &f, sizeof f);
    f = dlsym(library, "cuThreadExchangeStreamCaptureMode");
    memcpy(&exchange, &f, sizeof f);
    cu = hyb_cuda_device_of(device)->cu;
    api = &cu->driver.api;
    for (i = 0; i < 2; i++) { /* of the host's thread, and of one that is strict with itself only */
        mode = i;
        caller = hyb_cuda_enter(cu);
        CHECK(!api->cuStreamCreate(&stream, HYB_CU_STREAM_NON_BLOCKING) && !begin_capture(stream, i), "capture");
        hyb_cuda_leave(cu, caller);
        CHECK(!exchange(&mode), "the thread's mode was %d", mode);
        CHECK(mode == 0, "the thread's mode was %d", mode);
        if (begin(&s, NULL, 0, NULL)) {
            CHECK(step(&s, 0, start, 4), "steps");
            CHECK(step(&s, 0, start, 1), "steps");
            CHECK(step(&s, 0, start, 1), "steps");
            CHECK(step(&s, 0, start, 1), "steps");
            CHECK(hybrid_logits(s.ctx, 0), "%s", said);
            CHECK(layers_on_gpu(&s) == 5, "%s", said);
            CHECK(!strstr(said, "without"), "%s", said);
            CHECK(!strstr(said, "on the CPU"), "%s", said);
        }
        end(&s);
        mode = 0;
        CHECK(!exchange(&mode), "the thread's mode is %d, it was %d", mode, i);
        CHECK(mode == i, "the thread's mode is %d, it was %d", mode, i);
        graph = NULL;
        caller = hyb_cuda_enter(cu);
        CHECK(!end_capture(stream, &graph), "the host's capture was broken");
        CHECK(graph, "the host's capture was broken");
        if (graph) api->cuGraphDestroy(graph);
        api->cuStreamDestroy(stream);
        hyb_cuda_leave(cu, caller);
    }
    hybrid_runtime_destroy(rt);
}

/* Page tables are copied as far as they are used; a sequence that grows beyond the others makes their rows wider. */
static void test_pages(void)
{
    enum { N_SEQ = 3, LONG = 251 };
    int32_t ids[LONG], one = 403;
    setup s[2];
    hybrid_context_desc cd;
    hybrid_error err;
    const float *a, *b;
    double worst = 0;
    uint64_t before, most = 0, bytes;
    int i, k, v, seq, n_vocab;
    TEST("page tables");
    for (i = 0; i < LONG; i++) ids[i] = 3 + i % 500;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 262144;
    cd.n_seq = N_SEQ;
    cd.kv = HYBRID_KV_F16;
    cd.n_batch = 256;
    for (k = 0; k < 2; k++) {
        if (!begin(&s[k], k ? NULL : "cpu", 0, NULL)) return;
        hybrid_context_destroy(s[k].ctx);
        s[k].ctx = NULL;
        CHECK(!hybrid_context_create(s[k].model, &cd, &s[k].ctx, &err), "%s", err.message);
        if (!s[k].ctx || !step(&s[k], 1, ids, LONG)) return;
    }
    CHECK(!s[1].ctx->forward.stages[0].device->ops->is_host, "it is on the GPU");
    n_vocab = hybrid_vocab_size(hybrid_model_tokenizer(s[0].model));
    for (i = 0; i < 10; i++) { /* past position 256 */
        before = ((hyb_cuda_backend *)s[1].ctx->forward.stages[0].be)->queue->bytes_written;
        for (k = 0; k < 2; k++) {
            for (seq = 0; seq < N_SEQ; seq++) CHECK(!hybrid_batch_add(s[k].ctx, seq, &one, 1, &err), "%s", err.message);
            CHECK(!hybrid_decode(s[k].ctx, &err), "%s", err.message);
        }
        bytes = ((hyb_cuda_backend *)s[1].ctx->forward.stages[0].be)->queue->bytes_written - before;
        most = bytes > most ? bytes : most;
        for (seq = 0; seq < N_SEQ; seq++) {
            a = hybrid_logits(s[0].ctx, seq);
            b = hybrid_logits(s[1].ctx, seq);
            for (v = 0; a && b && v < n_vocab; v++) worst = fabs(a[v] - b[v]) > worst ? fabs(a[v] - b[v]) : worst;
            CHECK(a, "logits");
            CHECK(b, "logits");
        }
    }
    CHECK(worst < 2e-2, "logits are %g apart", worst);
    CHECK(most < 16384, "a step of %d tokens copies %llu bytes to the GPU", N_SEQ, (unsigned long long)most);
    end(&s[0]);
    end(&s[1]);
}

/* ---- uploads ----------------------------------------------------------------------------------------------------- */

static void test_uploads(void)
{
    setup s;
    hybrid_model_desc md;
    hybrid_model *again = NULL;
    hybrid_model_info info;
    hybrid_error err;
    int i;
    static const char *const fails[] = { "cuMemcpyHtoDAsync:1:2", "cuStreamSynchronize:1:900" };
    TEST("an upload fails once");
    for (i = 0; i < 2; i++) {
        setenv("EMU_FAIL", fails[i], 1);
        if (!begin(&s, NULL, 0, NULL)) return;
        unsetenv("EMU_FAIL");
        CHECK(layers_on_gpu(&s) == 0, "%s: %d layers on the GPU", fails[i], layers_on_gpu(&s));
        memset(&md, 0, sizeof md);
        md.path = model_path;
        md.device_n_ctx = 128;
        CHECK(!hybrid_model_load(s.rt, &md, &again, &err), "%s", err.message);
        hybrid_model_describe(again, &info);
        CHECK(info.n_layer_device == 5, "%s: the next model has %d layers on the GPU", fails[i], info.n_layer_device);
        hybrid_model_destroy(again);
        end(&s);
    }
}

static bool half(void *user, float fraction)
{
    (void)user;
    return fraction < 0.5f;
}

/* Memory of an upload that is given up goes to others: nothing may be copied into it any more. */
static void test_cancelled(void)
{
    unsigned char *mine, *back;
    setup s;
    hybrid_model_desc md;
    hybrid_model *m = NULL;
    hybrid_error err;
    hyb_cuda_queue *q = NULL;
    hyb_device *gpu;
    void *keep = NULL, *d = NULL;
    size_t i, n, wrong = 0;
    TEST("a load is cancelled");
    if (!begin(&s, NULL, 0, NULL)) return;
    gpu = s.rt->gpu;
    n = s.model->place.bytes;
    mine = (unsigned char *)malloc(n);
    back = (unsigned char *)malloc(n);
    /* the rest of a block of 8 MB is where the model goes, and the next one */
    CHECK(!gpu->ops->alloc(gpu, (8u << 20) - n - 4096, &keep, &err), "%s", err.message);
    memset(&md, 0, sizeof md);
    md.path = model_path;
    md.device_n_ctx = 128;
    md.progress = half;
    CHECK(hybrid_model_load(s.rt, &md, &m, &err) == HYBRID_ERROR_CANCELLED, "%s", err.message);
    CHECK(!m, "%s", err.message);
    memset(mine, 0x5A, n);
    CHECK(!gpu->ops->alloc(gpu, n, &d, &err), "%s", err.message);
    CHECK((char *)d > (char *)keep, "%s", err.message);
    CHECK((char *)d < (char *)keep + (8u << 20), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cuda_of(&s), &q, &err), "%s", err.message);
    hyb_cuda_write(q, d, mine, n);
    CHECK(!hyb_cuda_sync(q, &err) && !gpu->ops->flush(gpu, &err), "%s", err.message);
    hyb_cuda_read(q, back, d, n);
    CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
    for (i = 0; i < n; i++) wrong += back[i] != 0x5A;
    CHECK(!wrong, "%d bytes of another's memory were written", (int)wrong);
    free(mine);
    free(back);
    hyb_cuda_queue_destroy(q);
    gpu->ops->free(gpu, d);
    gpu->ops->free(gpu, keep);
    end(&s);
}

/* A job system that runs other jobs of the game while it waits for ours: one of them makes a context. */
typedef struct jobs {
    hybrid_model *model;
    int depth, n;
} jobs;
static void helping_for(void *user, int32_t n, hybrid_task_fn fn, void *arg)
{
    jobs *j = (jobs *)user;
    hybrid_context_desc cd;
    hybrid_context *c = NULL;
    hybrid_error err;
    int i;
    if (j->model && !j->depth++) {
        memset(&cd, 0, sizeof cd);
        cd.n_ctx = 64;
        alarm(60); /* a lock that this very thread holds is waited for for ever */
        CHECK(!hybrid_context_create(j->model, &cd, &c, &err), "%s", err.message);
        alarm(0);
        hybrid_context_destroy(c);
        j->n++;
    }
    for (i = 0; i < n; i++) fn(arg, i);
    j->depth--;
}

static void test_jobs(void)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_runtime *rt = NULL;
    hybrid_error err;
    jobs j;
    char *big = (char *)calloc(8, 1 << 20);
    void *d = NULL;
    TEST("jobs that are run while others are waited for");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&j, 0, sizeof j);
    rd.parallel_for = helping_for;
    rd.parallel_user = &j;
    rd.n_threads = 4;
    md.path = model_path;
    md.device_n_ctx = 128;
    CHECK(!hybrid_runtime_create(&rd, &rt, &err) && !hybrid_model_load(rt, &md, &j.model, &err), "%s", err.message);
    if (j.model && rt->gpu && big) {
        CHECK(!rt->gpu->ops->alloc(rt->gpu, 8 << 20, &d, &err), "%s", err.message);
        CHECK(!rt->gpu->ops->write(rt->gpu, d, big, 8 << 20, &err), "%s", err.message);
        CHECK(!rt->gpu->ops->flush(rt->gpu, &err), "%s", err.message);
        rt->gpu->ops->free(rt->gpu, d);
    }
    hybrid_model_destroy(j.model);
    hybrid_runtime_destroy(rt);
    free(big);
}

/* Each device allocation fails once: the model or the context runs on the CPU then. */
static void test_no_memory(void)
{
    setup s;
    char fail[64];
    int n;
    unsigned made = 0;
    TEST("no device memory");
    for (n = 1; n < 10; n++) {
        snprintf(fail, sizeof fail, "cuMemAlloc:%d", n);
        setenv("EMU_FAIL", fail, 1);
        if (!begin(&s, NULL, 0, NULL)) return;
        expect_cpu_text(&s, fail, 8);
        made = cuda_of(&s)->n_device_allocations;
        if (!strstr(said, "on the CPU") && !strstr(said, "without the GPU")) break;
        end(&s);
    }
    CHECK(made, "allocation %d did not fail; %u were made", n, made);
    CHECK(n == (int)made + 1, "allocation %d did not fail; %u were made", n, made);
    end(&s);
}

/* The GPU breaks at launch N, for good: what was in its cache is computed again, and the text goes on. */
static void test_broken(void)
{
    static const int at[] = { 1, 2, 30, 70, 100, 150, 200, 400, 700, 1500, 3000 };
    setup s;
    char fail[64];
    size_t i;
    int broken = 0;
    TEST("a launch fails");
    for (i = 0; i < sizeof at / sizeof at[0]; i++) {
        snprintf(fail, sizeof fail, "launch:%d", at[i]);
        setenv("EMU_FAIL", fail, 1);
        if (!begin(&s, NULL, 0, NULL)) return;
        expect_cpu_text(&s, fail, MAX);
        broken += strstr(said, "goes on without the GPU") != NULL;
        end(&s);
    }
    CHECK(broken >= 8, "only %d of them broke", broken);
}

/* A device that is asked for by name must be there. */
static void test_by_name(void)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt;
    hybrid_error err;
    hybrid_device_info info;
    size_t count = 9;
    TEST("a device by name");
    memset(&rd, 0, sizeof rd);
    rd.device = "cuda:7";
    CHECK(hybrid_runtime_create(&rd, &rt, &err) < 0, "%s", err.message);
    CHECK(!rt, "%s", err.message);
    CHECK(strstr(err.message, "7"), "%s", err.message);
    rd.device = "gpu";
    CHECK(hybrid_runtime_create(&rd, &rt, &err) == HYBRID_ERROR_INVALID, "%s", err.message);
    CHECK(!rt, "%s", err.message);
    rd.device = "cuda";
    CHECK(!hybrid_runtime_create(&rd, &rt, &err), "%s", err.message);
    CHECK(hybrid_runtime_device(rt)[0], "%s", err.message);
    CHECK(!hybrid_devices(rt, &info, 1, &count, &err), "%d devices", (int)count);
    CHECK(count == 1, "%d devices", (int)count);
    CHECK(info.total_bytes >= info.free_bytes, "%d devices", (int)count);
    CHECK(info.free_bytes, "%d devices", (int)count);
    CHECK(!strcmp(info.id, "cuda:0"), "%d devices", (int)count);
    CHECK(info.capability >= 75, "%d devices", (int)count);
    hybrid_runtime_destroy(rt);
    setenv("EMU_FAIL", "cuInit:1+:100", 1);
    CHECK(hybrid_runtime_create(&rd, &rt, &err) < 0, "no device, but no error");
    CHECK(!rt, "no device, but no error");
    CHECK(err.message[0], "no device, but no error");
    CHECK(!hybrid_devices(NULL, NULL, 0, &count, &err), "%d devices", (int)count);
    CHECK(count == 0, "%d devices", (int)count);
    CHECK(err.message[0], "%d devices", (int)count);
    unsetenv("EMU_FAIL");
    setenv("HYBRID_DEVICE", "cuda:7", 1);
    CHECK(!hybrid_devices(NULL, NULL, 0, &count, &err), "a list needs no device: %s", err.message);
    CHECK(count == 1, "a list needs no device: %s", err.message);
    unsetenv("HYBRID_DEVICE");
}

static bool warm(void *user, float fraction)
{
    *(const char **)user = fraction == 1 ? "done" : NULL;
    return true;
}

/* ---- a forked child, in which the driver must not be called ------------------------------------------------------ */

/* Returns 0 when the child went on with the CPU's text, loaded another model, ended everything, and the driver was
 * never asked. */
static int forked_child(setup *s)
{
    const unsigned long long calls = counts ? counts->calls : 0;
    const int failed = check_failed;
    hybrid_model *other = NULL;
    hybrid_model_desc md;
    hybrid_model_info info;
    hybrid_error err;
    int32_t seq;
    memset(&md, 0, sizeof md);
    md.path = model_path;
    for (seq = 0; seq < 3; seq++)
        if (hybrid_seq_remove(s->ctx, seq, 0, &err)) return 2;
    expect_cpu_text(s, "a forked child", 8);
    if (!strstr(said, "this process was forked") || hybrid_runtime_device(s->rt)[0]) return 3;
    if (hybrid_model_load(s->rt, &md, &other, &err)) return 4;
    hybrid_model_describe(other, &info);
    hybrid_model_destroy(other);
    end(s);
    if (info.n_layer_device) return 5;
    return check_failed > failed ? 6 : counts && counts->calls != calls ? 7 : 0;
}

static void test_fork(void)
{
    int status = -1, round;
    setup s;
    pid_t child;
    TEST("a forked child");
    for (round = 0; round < 3; round++) { /* unused, in the middle, only ended */
        if (!begin(&s, NULL, 0, NULL)) return;
        if (round) expect_cpu_text(&s, "before a fork", 8);
        fflush(NULL);
        if ((child = fork()) == 0) {
            alarm(120);
            if (round < 2) _exit(forked_child(&s));
            end(&s);
            _exit(0);
        }
        CHECK(child > 0, "round %d: the child's status is 0x%x", round, status);
        CHECK(waitpid(child, &status, 0) == child, "round %d: the child's status is 0x%x", round, status);
        CHECK(WIFEXITED(status), "round %d: the child's status is 0x%x", round, status);
        CHECK(!WEXITSTATUS(status), "round %d: the child's status is 0x%x", round, status);
        CHECK(hybrid_runtime_device(s.rt)[0], "the parent has its GPU");
        end(&s);
    }
}

int main(void)
{
    hybrid_error why;
    setup s;
    size_t count;
    emu_counters_function counters;
    void *library;
    TEST("device");
    model_path = data_path("models/stories260K/stories260K.gguf");
    if (!model_path) {
        SKIP("no shared data");
        return test_end();
    }
    if (hybrid_devices(NULL, NULL, 0, &count, &why) || !count) {
        SKIP("no GPU: %s", why.message);
        return test_end();
    }
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library) {
        *(void **)&counters = dlsym(library, "emu_counters");
        counts = counters ? counters() : NULL;
    }
    if (begin(&s, "cpu", 0, NULL)) talk(&s, MAX, cpu_ids, cpu_logits);
    end(&s);
    if (begin(&s, NULL, 0, "")) {
        const char *last = NULL;
        CHECK(!hybrid_warmup(s.ctx, warm, &last, &why), "%s", why.message);
        CHECK(last, "%s", why.message);
        if (counts) CHECK(!counts->launches, "%llu launches while warming up", counts->launches);
        if (counts) setenv("EMU_FAIL", "nvrtcCompileProgram:1+", 1); /* all kernels are there now */
        expect_cpu_text(&s, "after a warm-up", MAX);
        CHECK(!strstr(said, "without the GPU"), "%s", said);
    }
    end(&s);
    if (begin(&s, NULL, 0, NULL)) {
        CHECK(layers_on_gpu(&s) == 5, "%d layers on the GPU", layers_on_gpu(&s));
        expect_cpu_text(&s, "the GPU", MAX);
        CHECK(((hyb_cuda_backend *)s.ctx->forward.stages[0].be)->queue->n_graph_launches > MAX,
              "decoding was not replayed from a graph");
    }
    end(&s);
    test_by_name();
    test_plan();
    test_warmup();
    test_limits();
    test_next();
    test_slices();
    test_foreign_capture();
    test_pages();
    test_cancelled();
    test_jobs();
    test_fork();
    if (!counts) {
        SKIP("a real GPU does not fail on demand");
        return test_end();
    }
    test_failures();
    test_graph_failures();
    test_uploads();
    test_no_memory();
    test_broken();
    return test_end();
}
