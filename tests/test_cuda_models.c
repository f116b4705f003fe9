/* Models on the GPU [emu] [emu-reordered] [emu-check] [no-asan]: against transformers as test_models does it on the
 * CPU, through the headers that ship, and stories260K in several types against the CPU's own logits and text. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"

static double relative(const float *a, int64_t stride, const float *b, int64_t rows, int64_t cols);

/* Caches in F16 go through tensor cores, whose inputs are halves; with other rows beside, other kernels may be
 * chosen. */
#define TOLERANCE     1e-4
#define SAME(a, b, n) (relative(a, n, b, 1, n) < 5e-3)
#include "models.inc"

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
    int i, k, n_vocab;
    if (!path) {
        SKIP("no shared data");
        return;
    }
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
        for (k = 0; k < 2; k++)
            CHECK(!hybrid_batch_add(c[k], 0, &id, 1, &err) && !hybrid_decode(c[k], &err), "%s", err.message);
    }
    CHECK(worst < tolerance, "logits are %.1e apart", worst);
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

int main(void)
{
    const int n = getenv("EMU_CHECK") ? 3 : 60;
    hybrid_error why;
    size_t count;
    TEST("device");
    if (hybrid_devices(NULL, NULL, 0, &count, &why) || !count) {
        SKIP("no GPU: %s", why.message);
        return test_end();
    }
    check_all_models();
    if (!getenv("EMU_ORDER") && !getenv("EMU_CHECK")) {
        TEST("models with a state, warm");
        check_mixture("tests/oracle/data/models/rwkv7.gguf", 20);
        check_mixture("tests/oracle/data/models/lfm2.gguf", 20);
        TEST("sequences with a state take turns");
        check_turns("tests/oracle/data/models/rwkv7.gguf");
        check_turns("tests/oracle/data/models/lfm2.gguf");
        TEST("a mixture of experts, warm");
        check_mixture("tests/oracle/data/models/qwen2moe.gguf", 20);
        check_quantized("mixtral", HYBRID_MIX_Q8_0, 4, 0.05);
        check_quantized("qwen3moe", HYBRID_MIX_Q4_0, 9, 0.5);
        check_quantized_as("mixtral", HYBRID_MIX_Q8_0, HYBRID_TYPE_IQ4_NL, 4, 0.5);
    }
    TEST("stories260K");
    check_against_cpu(data_path("models/stories260K/stories260K.gguf"), HYBRID_KV_F32, n, 1e-4, 0);
    check_against_cpu(data_path("models/stories260K/stories260K.gguf"), HYBRID_KV_F16, n, 5e-3, 1e-2);
    check_against_cpu(data_path("models/stories260K/stories260K-BF16.gguf"), HYBRID_KV_F16, n, 1e-2, 5e-2);
    check_against_cpu(data_path("models/stories260K/stories260K-Q4_K_M.gguf"), HYBRID_KV_F16, n, 3e-2, 0.2);
    check_against_cpu("examples/data/stories260K-q8_0.gguf", HYBRID_KV_F16, n, 3e-2, 0.2);
    return test_end();
}
