/* Training on a GPU on bad days: memory that fails, of the host and of the driver, and a GPU that is lost in the middle
 * of a step; and an adapter that learns inside a program, on a GPU and beside one. Included by test_cuda_models.c. */
#ifndef TRAIN_FAILURES_H
#define TRAIN_FAILURES_H

typedef struct rationed {
    size_t live;
    long calls, fail_at;
} rationed;
static void *rationed_alloc(void *user, size_t size)
{
    rationed *r = (rationed *)user;
    size_t *p;
    if (++r->calls == r->fail_at || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    r->live += size;
    return p + 2;
}
static void rationed_free(void *user, void *block)
{
    size_t *p = (size_t *)block - 2;
    ((rationed *)user)->live -= *p;
    free(p);
}

static uint64_t device_used(const hybrid_runtime *rt) { return hyb_cuda_device_of(rt->gpu)->cu->arena.used; }

/* One trainer after the other, of which another allocation of the host fails, and then the n-th call of a function of
 * the driver: memory of the GPU is as it was. Page-locked memory may be replaced by other. */
static void check_failing_memory(hybrid_model *m, hybrid_trainer_desc d, rationed *given)
{
    static const char *const calls[] = { "cuMemAlloc", "cuStreamCreate", "cuEventCreate", "cuMemHostAlloc" };
    hybrid_trainer *t = NULL;
    hybrid_error err;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    const uint64_t before = device_used(m->rt);
    char fail[64];
    int i, k, n_failed = 0;
    for (given->fail_at = 1; r && given->fail_at < 200; given->fail_at++) {
        given->calls = 0;
        r = hybrid_trainer_create(&d, &t, &err);
        CHECK(!r || (!t && err.message[0]), "allocation %ld: a trainer that failed", given->fail_at);
        if (r) CHECK(r == HYBRID_ERROR_MEMORY, "allocation %ld: %s", given->fail_at, err.message);
        if (r) CHECK(device_used(m->rt) == before, "allocation %ld: the GPU's memory is held", given->fail_at);
    }
    CHECK(!r && given->fail_at > 4, "%ld allocations: %s", given->fail_at, r ? err.message : "only so few");
    given->fail_at = 0;
    hybrid_trainer_destroy(t);
    CHECK(device_used(m->rt) == before, "a trainer's memory of the GPU is held");
    for (i = 0; i < 4; i++)
        for (k = 1; k < 4; k++) {
            snprintf(fail, sizeof fail, "%s:%d", calls[i], k);
            setenv("EMU_FAIL", fail, 1);
            r = hybrid_trainer_create(&d, &t, &err);
            unsetenv("EMU_FAIL");
            n_failed += r != HYBRID_OK;
            CHECK(!r || (!t && err.message[0]), "%s: a trainer that failed", fail);
            CHECK(!r || i < 3, "%s: %s", fail, err.message);
            hybrid_trainer_destroy(t);
            CHECK(device_used(m->rt) == before, "%s: memory of the GPU is held", fail);
        }
    CHECK(n_failed > 0, "no call of the driver was needed");
}

static void check_failing(const char *name, bool offload)
{
    rationed given = { 0, 0, 0 };
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_trainer_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_trainer *t = NULL;
    hybrid_error err;
    char path[256];
    snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", name);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&d, 0, sizeof d);
    rd.device = "cuda";
    rd.allocator.alloc = rationed_alloc;
    rd.allocator.free = rationed_free;
    rd.allocator.user = &given;
    md.path = path;
    md.trainable = true;
    d.n_seq = PUPIL_SEQS;
    d.n_ctx = PUPIL_CTX;
    d.offload_optimizer = offload;
    CHECK(!hybrid_runtime_create(&rd, &rt, &err), "%s", err.message);
    CHECK(!hybrid_model_load(rt, &md, &d.model, &err), "%s", err.message);
    if (d.model && d.model->place.trained) {
        CHECK(!hybrid_trainer_create(&d, &t, &err), "%s", err.message); /* what stays with the GPU is there then */
        hybrid_trainer_destroy(t);
        check_failing_memory(d.model, d, &given);
    }
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes leaked", (long)given.live);
}

/* ---- a lost GPU -------------------------------------------------------------------------------------------------- */

/* Nothing can be done with a trainer whose GPU is lost, and it says so; its checkpoint stays. */
static void check_dead(hybrid_trainer *t, const hybrid_train_batch *batch, const char *path, const char *fail)
{
    size_t size = 0, now = 0;
    char *before = read_file(path, &size), *after;
    hybrid_error err = { HYBRID_OK, 0, "" };
    double loss;
    CHECK(hybrid_trainer_step(t, batch, NULL, &err) && err.message[0], "%s: another step", fail);
    CHECK(hybrid_trainer_evaluate(t, batch, &loss, &err) && err.message[0], "%s: a loss", fail);
    CHECK(hybrid_trainer_save(t, path, &err) && err.message[0], "%s: a checkpoint", fail);
    after = read_file(path, &now);
    CHECK(before && after && size == now && !memcmp(before, after, size), "%s: the checkpoint is another", fail);
    CHECK(hybrid_trainer_load(t, path, &err) && err.message[0], "%s: it was loaded", fail);
    free(before);
    free(after);
}

/* A step in which the GPU is lost, after one that was saved: the CPU goes on from there. Whether it was lost. */
static bool check_lost(const char *name, const char *fail, hybrid_trainer_desc d)
{
    pupil p[2];
    char path[64];
    hybrid_train_batch batch;
    hybrid_error err;
    hybrid_result r;
    double loss[2] = { 0, 1 };
    int k;
    snprintf(path, sizeof path, "build/cuda-lost-%d.gguf", (int)getpid());
    d.rate = 1e-3f;
    for (k = 0; k < 2; k++)
        if (!pupil_open(&p[k], name, !k, d)) return false;
    offload_batch(&p[0], &batch, 3);
    CHECK(!hybrid_trainer_step(p[0].t, &batch, NULL, &err), "%s", err.message);
    CHECK(!hybrid_trainer_save(p[0].t, path, &err), "%s", err.message);
    CHECK(!hybrid_trainer_evaluate(p[0].t, &batch, &loss[0], &err), "%s", err.message);
    setenv("EMU_FAIL", fail, 1);
    r = hybrid_trainer_step(p[0].t, &batch, NULL, &err);
    unsetenv("EMU_FAIL");
    if (r) {
        CHECK(r == HYBRID_ERROR_DEVICE && strstr(err.message, "GPU"), "%s: %d, %s", fail, (int)r, err.message);
        check_dead(p[0].t, &batch, path, fail);
        CHECK(!hybrid_trainer_load(p[1].t, path, &err), "%s: %s", fail, err.message);
        CHECK(!hybrid_trainer_evaluate(p[1].t, &batch, &loss[1], &err), "%s: %s", fail, err.message);
        CHECK(fabs(loss[0] - loss[1]) < 1e-5, "%s: losses %.9g, and %.9g from the checkpoint", fail, loss[0], loss[1]);
        CHECK(!hybrid_trainer_step(p[1].t, &batch, NULL, &err), "%s: %s", fail, err.message);
    }
    remove(path);
    for (k = 0; k < 2; k++) pupil_close(&p[k]);
    return r != HYBRID_OK;
}

/* ---- lessons ----------------------------------------------------------------------------------------------------- */

typedef struct gpu_lesson {
    int32_t ids[3][20];
    hybrid_example examples[3];
    hybrid_learn_desc desc;
} gpu_lesson;

static void lesson_fill(gpu_lesson *l, int n_vocab)
{
    int i, k;
    memset(l, 0, sizeof *l);
    for (i = 0; i < 3; i++) {
        for (k = 0; k < 20; k++) l->ids[i][k] = (i * 31 + k * k * 7 + 3) % n_vocab;
        l->examples[i].ids = l->ids[i];
        l->examples[i].n_ids = 20 - (size_t)i * 4;
        l->examples[i].n_prompt = 3;
    }
    l->desc.examples = l->examples;
    l->desc.n_examples = 3;
    l->desc.n_batch = 2;
    l->desc.n_steps = 3;
    l->desc.rate = 1e-2f;
}

/* The logits of the first example, with the adapter worn. */
static float *lesson_logits(const apprentice *x, const gpu_lesson *l)
{
    const float one = 1;
    const size_t bytes = sizeof(float) * (size_t)x->p.m->hp.n_vocab;
    float *logits = (float *)calloc(1, bytes);
    hybrid_context_desc cd;
    hybrid_context *c = NULL;
    hybrid_error err;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 64;
    cd.kv = HYBRID_KV_F32;
    CHECK(!hybrid_context_create(x->p.m, &cd, &c, &err), "%s", err.message);
    CHECK(!hybrid_seq_set_adapters(c, 0, &x->a, &one, 1, &err), "%s", err.message);
    CHECK(!hybrid_batch_add(c, 0, l->ids[0], 20, &err) && !hybrid_decode(c, &err), "%s", err.message);
    memcpy(logits, hybrid_logits(c, 0), bytes);
    hybrid_context_destroy(c);
    return logits;
}

static double lesson_apart(const apprentice x[2], const gpu_lesson *l)
{
    float *logits[2];
    double d;
    int k;
    for (k = 0; k < 2; k++) logits[k] = lesson_logits(&x[k], l);
    d = relative(logits[1], x[0].p.m->hp.n_vocab, logits[0], 1, x[0].p.m->hp.n_vocab);
    for (k = 0; k < 2; k++) free(logits[k]);
    return d;
}

static hybrid_learn_info lesson_learn(const apprentice *x, const hybrid_learn_desc *d, uint64_t budget_us)
{
    hybrid_learn_info info;
    hybrid_error err;
    memset(&info, 0, sizeof info);
    CHECK(!hybrid_adapter_learn(x->a, d, budget_us, &info, &err), "%s", err.message);
    while (info.n_left && !hybrid_adapter_learn(x->a, NULL, budget_us, &info, &err)) {}
    CHECK(!info.n_left, "%s", err.message);
    return info;
}

/* What the GPU has of an adapter is what the host has. */
static void lesson_both(const apprentice *x, const char *when)
{
    const size_t n = x->a->n_values;
    float *values = (float *)malloc(sizeof *values * n);
    hybrid_error err;
    CHECK(!hyb_store_read(x->a->learner->trainer->objective->cut.real, values, (const float *)x->a->gpu_values,
                          (int64_t)n, &err),
          "%s", err.message);
    CHECK(!memcmp(values, x->a->values, sizeof *values * n), "%s: the GPU has another adapter than the host", when);
    free(values);
}

/* A lesson on the GPU beside one on the CPU; it is committed, another is learned in slices, and taken back to the bit;
 * learned again, from the moments of before, it is what it was. Then the GPU is lost in a lesson: the adapter is as it
 * was, and is worn by a context that goes on without the GPU. */
static void check_lessons(const hybrid_gguf *in)
{
    apprentice x[2];
    gpu_lesson l;
    hybrid_learn_info info[2];
    hybrid_error err;
    float *kept, *second;
    size_t bytes;
    int k;
    for (k = 0; k < 2; k++)
        if (!apprentice_model(&x[k], in, HYBRID_MIX_F32, HYBRID_TYPE_LAST_, k == 1, 0)) return;
    lesson_fill(&l, x[0].p.m->hp.n_vocab);
    bytes = sizeof(float) * x[0].a->n_values;
    kept = (float *)malloc(bytes);
    second = (float *)malloc(bytes);
    for (k = 0; k < 2; k++) info[k] = lesson_learn(&x[k], &l.desc, 0);
    CHECK(!x[1].a->learner->trainer->store.device->ops->is_host, "the lesson is on the host");
    CHECK(fabs(info[0].loss - info[1].loss) < 1e-5 && info[1].loss < info[1].first_loss - 1e-3,
          "losses %.9g, %.9g of the GPU, whose first was %.9g", info[0].loss, info[1].loss, info[1].first_loss);
    CHECK(apprentices_apart(x) < 1e-3, "values %.2g apart", apprentices_apart(x));
    CHECK(lesson_apart(x, &l) < 1e-3, "logits %.2g apart", lesson_apart(x, &l));
    lesson_both(&x[1], "a lesson");
    CHECK(!hybrid_adapter_commit(x[1].a, &err), "%s", err.message);
    memcpy(kept, x[1].a->values, bytes);
    l.desc.seed = 9;
    for (k = 0; k < 2; k++) {
        info[k] = lesson_learn(&x[1], &l.desc, k ? 0 : 1);
        CHECK(memcmp(kept, x[1].a->values, bytes), "a lesson without effect");
        CHECK(!k || !memcmp(second, x[1].a->values, bytes), "a lesson after a way back has other bits");
        memcpy(second, x[1].a->values, bytes);
        CHECK(!hybrid_adapter_rollback(x[1].a, &err), "%s", err.message);
        CHECK(!memcmp(kept, x[1].a->values, bytes), "rolled back to something else");
        lesson_both(&x[1], "a way back");
    }
    CHECK(info[0].loss == info[1].loss && info[0].n_steps == 6, "losses %.17g, %.17g after %d steps", info[0].loss,
          info[1].loss, (int)info[0].n_steps);
    memcpy(x[0].a->values, kept, bytes);
    CHECK(!hyb_adapter_changed(x[0].a, &err), "%s", err.message);
    setenv("EMU_FAIL", "launch:30", 1);
    CHECK(hybrid_adapter_learn(x[1].a, &l.desc, 0, NULL, &err) == HYBRID_ERROR_DEVICE && strstr(err.message, "GPU"),
          "a lesson on a lost GPU: %s", err.message);
    unsetenv("EMU_FAIL");
    CHECK(!memcmp(kept, x[1].a->values, bytes), "a lesson that failed has changed the adapter");
    CHECK(hybrid_adapter_learn(x[1].a, &l.desc, 0, NULL, &err) && err.message[0], "another lesson on a lost GPU");
    CHECK(lesson_apart(x, &l) < 1e-3, "after the GPU: logits %.2g apart", lesson_apart(x, &l));
    free(kept);
    free(second);
    for (k = 0; k < 2; k++) apprentice_close(&x[k]);
}

/* A model whose first layers are on the host, and the others on the GPU: its adapter learns on the host, and is worn on
 * both. */
static void check_mixed(const hybrid_gguf *in)
{
    apprentice x[2];
    gpu_lesson l;
    hybrid_learn_info info[2];
    uint64_t most = 64 << 20, less;
    int k;
    if (!apprentice_model(&x[0], in, HYBRID_MIX_F32, HYBRID_TYPE_LAST_, false, 0)) return;
    if (!apprentice_model(&x[1], in, HYBRID_MIX_F32, HYBRID_TYPE_LAST_, true, most)) return;
    for (less = most / 2; less > 1024 && !(x[1].p.m->place.gpu && x[1].p.m->place.first); less /= 2) {
        const bool too_small = !x[1].p.m->place.gpu;
        apprentice_close(&x[1]);
        most += too_small ? less : -less;
        if (!apprentice_model(&x[1], in, HYBRID_MIX_F32, HYBRID_TYPE_LAST_, true, most)) return;
    }
    CHECK(x[1].p.m->place.gpu && x[1].p.m->place.first > 0, "with %llu bytes nothing is on both",
          (unsigned long long)most);
    lesson_fill(&l, x[0].p.m->hp.n_vocab);
    for (k = 0; k < 2; k++) info[k] = lesson_learn(&x[k], &l.desc, 0);
    CHECK(x[1].a->learner->trainer->store.device->ops->is_host, "half a model is trained on the GPU");
    CHECK(fabs(info[0].loss - info[1].loss) < 1e-5, "losses %.9g, %.9g", info[0].loss, info[1].loss);
    CHECK(apprentices_apart(x) < 1e-3, "values %.2g apart", apprentices_apart(x));
    CHECK(lesson_apart(x, &l) < 1e-3, "logits %.2g apart", lesson_apart(x, &l));
    for (k = 0; k < 2; k++) apprentice_close(&x[k]);
}

static void check_failures(void)
{
    static const char *const fails[] = { "launch:1",   "launch:30",           "launch:90",           "launch:150",
                                         "launch:210", "cuMemcpyDtoHAsync:1", "cuMemcpyHtoDAsync:1", "launch:400" };
    hybrid_trainer_desc d;
    hybrid_gguf *in = NULL;
    size_t i;
    int n_lost = 0;
    if (getenv("EMU_CHECK") || getenv("EMU_ORDER")) return;
    TEST("lessons on a GPU");
    if (load("tests/oracle/data/models", "llama", "", NULL, &in)) {
        check_lessons(in);
        TEST("lessons on host and GPU");
        check_mixed(in);
    }
    hybrid_gguf_destroy(in);
    TEST("a trainer's memory fails");
    check_failing("gpt2", true);
    check_failing("gpt2", false);
    TEST("the GPU is lost while it trains");
    memset(&d, 0, sizeof d);
    for (i = 0; i < sizeof fails / sizeof *fails; i++) {
        d.offload_optimizer = i % 2 == 1;
        n_lost += check_lost("gpt2", fails[i], d);
    }
    CHECK(n_lost >= 6, "only %d of them were lost", n_lost);
}
#endif
