/* States of the optimizer on the host while a GPU trains: for good (offload_optimizer), or parked between two steps.
 * Everything has the bits that it has with states on the GPU. Included by test_cuda_models.c, which has pupils. */

/* Weights and states of two pupils are the same bits. */
static void same_pupils(const char *what, pupil p[2])
{
    float *values[2];
    hybrid_error err;
    int64_t n = 0;
    int k, part;
    for (part = 0; part < 2; part++) {
        for (k = 0; k < 2; k++) {
            hyb_store *s = &p[k].t->store;
            hyb_backend *be = p[k].t->objective->cut.real;
            n = part ? s->n_states : s->n_values;
            values[k] = (float *)malloc(sizeof(float) * (size_t)(n + 1));
            if (part)
                CHECK(!hyb_store_read_states(s, be, values[k], 0, n, &err), "%s: %s", what, err.message);
            else
                CHECK(!hyb_store_read(be, values[k], s->weights, n, &err), "%s: %s", what, err.message);
        }
        CHECK(!memcmp(values[0], values[1], sizeof(float) * (size_t)n), "%s: other %s", what,
              part ? "states" : "weights");
        free(values[0]);
        free(values[1]);
    }
}

static void offload_batch(const pupil *p, hybrid_train_batch *batch, uint32_t bits)
{
    static int32_t ids[PUPIL_ROWS], targets[PUPIL_ROWS];
    const int n_vocab = p->m->hp.n_vocab;
    int i;
    memset(batch, 0, sizeof *batch);
    for (i = 0; i < PUPIL_ROWS; i++) {
        bits = bits * 1664525u + 1013904223u;
        ids[i] = (int32_t)(bits >> 8) % n_vocab;
        targets[i] = (int32_t)(bits >> 12) % n_vocab;
    }
    batch->ids = ids;
    batch->targets = targets;
}

/* A step of both: the same loss, and then the same bits. */
static void offload_step(const char *what, pupil p[2], hybrid_train_metrics a[2])
{
    hybrid_train_batch batch;
    hybrid_error err;
    int k;
    for (k = 0; k < 2; k++) {
        offload_batch(&p[k], &batch, 77u + (uint32_t)p[k].t->step);
        CHECK(!hybrid_trainer_step(p[k].t, &batch, &a[k], &err), "%s: %s", what, err.message);
    }
    CHECK(a[0].loss == a[1].loss && a[0].grad_norm == a[1].grad_norm, "%s: losses %.17g and %.17g", what, a[0].loss,
          a[1].loss);
    same_pupils(what, p);
}

/* What one of them saves is the other's, and they go on alike. */
static void offload_exchange(const char *what, pupil p[2])
{
    hybrid_train_metrics a[2];
    char path[64];
    hybrid_error err;
    int k;
    snprintf(path, sizeof path, "build/cuda-offload-%d.gguf", (int)getpid());
    for (k = 0; k < 2; k++) {
        hybrid_train_batch batch;
        CHECK(!hybrid_trainer_save(p[k].t, path, &err), "%s: %s", what, err.message);
        offload_batch(&p[1 - k], &batch, 5);
        CHECK(!hybrid_trainer_step(p[1 - k].t, &batch, NULL, &err), "%s: %s", what, err.message);
        CHECK(!hybrid_trainer_load(p[1 - k].t, path, &err), "%s: %s", what, err.message);
        same_pupils(what, p);
        offload_step(what, p, a);
    }
    remove(path);
}

static void check_offloaded(const char *name, int steps, hybrid_trainer_desc d)
{
    pupil p[2];
    hybrid_train_metrics a[2];
    hybrid_error err;
    double loss[2];
    uint64_t states;
    int i, k;
    if (!test_wanted_as("offloaded %s, optimizer %d", name, (int)d.optimizer)) return;
    d.rate = 1e-3f;
    d.decay = 0.1f;
    for (k = 0; k < 2; k++) {
        d.offload_optimizer = k == 1;
        if (!pupil_open(&p[k], name, true, d)) return;
    }
    CHECK(p[1].t->store.offload && !p[1].t->store.states && !p[0].t->store.offload, "%s: states are elsewhere", name);
    states = sizeof(float) * (uint64_t)p[1].t->store.n_states;
    CHECK(p[1].t->store.n_states > 4 * p[1].t->store.slice, "%s: a slice is %lld of %lld values", name,
          (long long)p[1].t->store.slice, (long long)p[1].t->store.n_states);
    for (i = 0; i < steps; i++) offload_step(name, p, a);
    CHECK(a[1].moved_bytes == 2 * states && !a[0].moved_bytes, "%s: %llu and %llu bytes were moved", name,
          (unsigned long long)a[0].moved_bytes, (unsigned long long)a[1].moved_bytes);
    for (i = 0; i < 2 && d.ema > 0; i++) {
        hybrid_train_batch batch;
        for (k = 0; k < 2; k++) {
            offload_batch(&p[k], &batch, 5);
            CHECK(!hybrid_trainer_swap_ema(p[k].t, &err), "%s", err.message);
            CHECK(!hybrid_trainer_evaluate(p[k].t, &batch, &loss[k], &err), "%s", err.message);
        }
        CHECK(loss[0] == loss[1], "%s: losses of the averages %.17g and %.17g", name, loss[0], loss[1]);
        same_pupils(name, p);
    }
    offload_exchange(name, p);
    for (k = 0; k < 2; k++) pupil_close(&p[k]);
}

/* States that are parked between steps, and come back for the next one or before; a checkpoint while they are. */
static void check_parked(const char *name, hybrid_trainer_desc d)
{
    pupil p[2];
    hybrid_train_metrics a[2];
    hybrid_error err;
    hyb_store *s;
    hyb_device *gpu;
    uint64_t states, used;
    int k;
    for (k = 0; k < 2; k++)
        if (!pupil_open(&p[k], name, true, d)) return;
    s = &p[1].t->store;
    gpu = s->device;
    states = hyb_store_state_bytes(s);
    offload_step(name, p, a);
    used = hyb_cuda_device_of(p[1].rt->gpu)->cu->arena.used;
    for (k = 0; k < 2; k++) CHECK(!hyb_store_park(s, p[1].t->objective->cut.real, &err), "%s", err.message); /* once */
    CHECK(!s->states && used - hyb_cuda_device_of(p[1].rt->gpu)->cu->arena.used == gpu->ops->cost(gpu, states),
          "%s: the place of parked states is not free", name);
    CHECK(s->moved_down == states && !s->moved_up, "%s: %llu bytes down, %llu up", name,
          (unsigned long long)s->moved_down, (unsigned long long)s->moved_up);
    same_pupils(name, p);
    offload_exchange(name, p); /* saved, and loaded, while they are parked */
    CHECK(s->states && s->moved_up == states, "%s: %llu bytes up", name, (unsigned long long)s->moved_up);
    CHECK(!hyb_store_park(s, p[1].t->objective->cut.real, &err), "%s", err.message);
    offload_step(name, p, a);
    CHECK(a[1].moved_bytes == states && s->moved_up == 2 * states, "%s: a step moved %llu bytes", name,
          (unsigned long long)a[1].moved_bytes);
    CHECK(used == hyb_cuda_device_of(p[1].rt->gpu)->cu->arena.used, "%s: parked twice, and more is taken", name);
    for (k = 0; k < 2; k++) pupil_close(&p[k]);
}

/* Less and less memory of the GPU: what is done without, in which order; then a sentence with the n_ctx that would do,
 * which does. */
static void check_offload_room(const char *name)
{
    hybrid_trainer_desc d;
    hybrid_train_plan plan, last;
    hybrid_error err;
    pupil p;
    const char *would;
    uint64_t device;
    int n = 0, n_offloaded = 0;
    memset(&d, 0, sizeof d);
    if (!pupil_open(&p, name, true, d)) return;
    hybrid_trainer_destroy(p.t);
    p.t = NULL;
    d.model = p.m;
    d.n_seq = PUPIL_SEQS;
    d.n_ctx = PUPIL_CTX;
    memset(&last, 0, sizeof last);
    while (!hybrid_trainer_plan(&d, &plan, &err)) {
        uint64_t taken = hyb_cuda_device_of(p.rt->gpu)->cu->arena.used;
        device = plan.total - plan.host_bytes;
        CHECK(!d.max_bytes || device <= d.max_bytes, "%s: more than max_bytes", name);
        if (n) /* 3 after 2 after 1 */
            CHECK(plan.offloaded != last.offloaded ? plan.offloaded && last.n_seq == 1 && last.recompute_every == 1
                  : plan.n_seq != last.n_seq       ? plan.n_seq < last.n_seq && last.recompute_every == 1
                                             : plan.recompute_every && plan.recompute_every < last.recompute_every + 99,
                  "%s: offloaded %d, %d sequences, recompute_every %d after %d, %d, %d", name, plan.offloaded,
                  plan.n_seq, plan.recompute_every, last.offloaded, last.n_seq, last.recompute_every);
        CHECK(!hybrid_trainer_create(&d, &p.t, &err), "%s: %s", name, err.message);
        taken = hyb_cuda_device_of(p.rt->gpu)->cu->arena.used - taken;
        CHECK(taken == device, "%s: planned %llu bytes of the GPU, %llu were taken", name, (unsigned long long)device,
              (unsigned long long)taken);
        hybrid_trainer_destroy(p.t);
        p.t = NULL;
        n++;
        n_offloaded += plan.offloaded;
        last = plan;
        d.max_bytes = device - 1;
    }
    CHECK(n > 3 && n_offloaded >= 2, "%s: %d plans, %d of them offloaded", name, n, n_offloaded);
    CHECK(strstr(err.message, "on their way from the host"), "%s: %s", name, err.message);
    would = strstr(err.message, "n_ctx ");
    CHECK(would && strstr(would, "would do"), "%s: %s", name, err.message);
    d.n_ctx = would ? atoi(would + 6) : 1;
    CHECK(!hybrid_trainer_plan(&d, &plan, &err), "%s: %s", name, err.message);
    d.n_ctx++;
    CHECK(hybrid_trainer_plan(&d, &plan, &err) == HYBRID_ERROR_LIMIT, "%s: n_ctx %d would do as well", name, d.n_ctx);
    pupil_close(&p);
}

static void check_offload(void)
{
    const bool slow = getenv("EMU_CHECK") != NULL;
    hybrid_trainer_desc d;
    TEST("states of the optimizer on the host");
    memset(&d, 0, sizeof d);
    check_offloaded("gpt2", slow ? 1 : 2, d);
    if (slow) return;
    d.optimizer = HYBRID_OPTIMIZER_MUON;
    d.ema = 0.9f;
    check_offloaded("llama", 2, d);
    d.optimizer = HYBRID_OPTIMIZER_SGD; /* nothing but the average */
    check_offloaded("gpt2", 1, d);
    TEST("parked states of the optimizer");
    memset(&d, 0, sizeof d);
    if (test_wanted("parked states")) check_parked("gpt2", d);
    TEST("a small GPU");
    if (test_wanted("a small GPU")) check_offload_room("qwen3");
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

typedef struct apprentice {
    pupil p; /* whose trainer trains the adapter */
    hybrid_adapter *a;
    sink file;
} apprentice;

/* A model with weights of a type, and an adapter of all its matrices. */
static bool apprentice_model(apprentice *x, const hybrid_gguf *in, hybrid_mix mix, hybrid_type instead, bool gpu,
                             uint64_t max_device_bytes)
{
    static const char *const all[] = { "all" };
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_adapter_desc ad;
    hybrid_error err;
    memset(x, 0, sizeof *x);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&ad, 0, sizeof ad);
    x->file = quantized(in, mix, instead, 0, !gpu);
    rd.device = gpu ? "cuda" : "cpu";
    rd.max_device_bytes = max_device_bytes;
    md.source.data = x->file.data;
    md.source.size = x->file.size;
    md.device_n_ctx = 64;
    ad.rank = 4;
    ad.seed = 7;
    ad.alpha = 8;
    ad.targets = all;
    ad.n_targets = 1;
    CHECK(!hybrid_runtime_create(&rd, &x->p.rt, &err), "%s", err.message);
    CHECK(!hybrid_model_load(x->p.rt, &md, &x->p.m, &err), "%s", err.message);
    if (!x->p.m) return false;
    CHECK(!hybrid_adapter_create(x->p.m, &ad, &x->a, &err), "%s", err.message);
    return x->a != NULL;
}

static bool apprentice_open(apprentice *x, const hybrid_gguf *in, hybrid_mix mix, hybrid_type instead, bool gpu,
                            hybrid_trainer_desc d)
{
    hybrid_train_plan plan;
    hybrid_error err;
    uint64_t taken;
    if (!apprentice_model(x, in, mix, instead, gpu, 0)) return false;
    d.adapter = x->a;
    d.n_seq = PUPIL_SEQS;
    d.n_ctx = PUPIL_CTX;
    CHECK(!hybrid_trainer_plan(&d, &plan, &err), "%s", err.message);
    taken = gpu ? hyb_cuda_device_of(x->p.rt->gpu)->cu->arena.used : 0;
    CHECK(!hybrid_trainer_create(&d, &x->p.t, &err), "%s", err.message);
    if (!x->p.t) return false;
    CHECK(x->p.t->store.device->ops->is_host == !gpu, "the adapter is trained on the other device");
    if (gpu)
        CHECK(hyb_cuda_device_of(x->p.rt->gpu)->cu->arena.used - taken == plan.total - plan.host_bytes,
              "planned %llu bytes of the GPU, %llu were taken", (unsigned long long)(plan.total - plan.host_bytes),
              (unsigned long long)(hyb_cuda_device_of(x->p.rt->gpu)->cu->arena.used - taken));
    return true;
}
static void apprentice_close(apprentice *x)
{
    hybrid_trainer_destroy(x->p.t);
    hybrid_adapter_destroy(x->a);
    hybrid_model_destroy(x->p.m);
    hybrid_runtime_destroy(x->p.rt);
    free(x->file.data);
}

/* The largest difference of the adapters' values, as the host has them, in units of the largest. */
static double apprentices_apart(const apprentice x[2])
{
    double apart = 0, largest = 0;
    size_t i;
    for (i = 0; i < x[0].a->n_values; i++) {
        const double v = (double)x[0].a->values[i], d = fabs(v - (double)x[1].a->values[i]);
        apart = d > apart ? d : apart;
        largest = fabs(v) > largest ? fabs(v) : largest;
    }
    return apart / largest;
}

/* An adapter over frozen weights of a type, on the GPU, beside one on the CPU over what those weights are as floats:
 * losses, norms and values; then a checkpoint goes from each to the other. In bf16 a value in the middle between two
 * numbers may be rounded otherwise, and AdamW makes steps of what is left of small gradients. */
static void check_apprentice(const char *folder, const char *name, hybrid_mix mix, hybrid_type instead,
                             hybrid_trainer_desc d)
{
    const double within = d.format == HYBRID_TYPE_BF16 ? 5e-3 : 1e-5;
    const bool large = strncmp(name, "rows", 4) == 0; /* for an emulator */
    const int steps = d.format == HYBRID_TYPE_BF16 || large ? 2 : 4;
    hybrid_gguf *in = NULL;
    apprentice x[2];
    hybrid_train_metrics a[2];
    hybrid_train_batch batch;
    hybrid_error err;
    char path[64];
    double worst = 0, loss[2];
    float first = 0;
    int i, k;
    if (!test_wanted_as("adapter of %s, format %d", name, (int)d.format)) return;
    if (!load(folder, name, "", NULL, &in)) return;
    d.rate = 1e-2f;
    for (k = 0; k < 2; k++)
        if (!apprentice_open(&x[k], in, mix, instead, k == 1, d)) return;
    for (i = 0; i < steps; i++) {
        for (k = 0; k < 2; k++) {
            offload_batch(&x[k].p, &batch, 31u + (uint32_t)i);
            CHECK(!hybrid_trainer_step(x[k].p.t, &batch, &a[k], &err), "%s: %s", name, err.message);
        }
        worst = fabs(a[0].loss - a[1].loss) > worst ? fabs(a[0].loss - a[1].loss) : worst;
        CHECK(fabs(a[0].grad_norm - a[1].grad_norm) < 10 * within * a[0].grad_norm,
              "%s: norm %.9g, and %.9g on the GPU", name, a[0].grad_norm, a[1].grad_norm);
        if (!i) first = (float)a[0].loss;
    }
    CHECK(worst < within, "%s: losses %.2g apart", name, worst);
    CHECK(fabs((double)first - a[0].loss) > 1e-3, "%s: nothing was learned", name);
    CHECK(d.format != HYBRID_TYPE_F32 || apprentices_apart(x) < (large ? 2e-2 : 1e-3), "%s: values %.2g apart", name,
          apprentices_apart(x));
    printf("  %-10s %-6s an adapter%s, losses within %.1e, values %.1e\n", name, hybrid_mix_name(mix),
           d.format == HYBRID_TYPE_BF16 ? " in bf16" : "", worst, apprentices_apart(x));
    snprintf(path, sizeof path, "build/cuda-adapter-%d.gguf", (int)getpid());
    for (k = 0; k < 2; k++) {
        offload_batch(&x[k].p, &batch, 5);
        CHECK(!hybrid_trainer_save(x[k].p.t, path, &err), "%s: %s", name, err.message);
        CHECK(!hybrid_trainer_evaluate(x[k].p.t, &batch, &loss[0], &err), "%s", err.message);
        CHECK(!hybrid_trainer_load(x[1 - k].p.t, path, &err), "%s: %s", name, err.message);
        CHECK(!hybrid_trainer_evaluate(x[1 - k].p.t, &batch, &loss[1], &err), "%s", err.message);
        CHECK(fabs(loss[0] - loss[1]) < within, "%s: loss %.9g, and %.9g on the other device", name, loss[0], loss[1]);
        CHECK(apprentices_apart(x) == 0, "%s: values %.2g apart after a checkpoint", name, apprentices_apart(x));
    }
    remove(path);
    for (k = 0; k < 2; k++) apprentice_close(&x[k]);
    hybrid_gguf_destroy(in);
}

static void check_apprentices(void)
{
    static const char models[] = "tests/oracle/data/models";
    const bool slow = getenv("EMU_CHECK") || getenv("EMU_ORDER");
    const char *rows = data_path("quant/models/rows-F32.gguf");
    char folder[1024];
    hybrid_trainer_desc d;
    TEST("adapters that are trained on a GPU");
    memset(&d, 0, sizeof d);
    check_apprentice(models, "llama", HYBRID_MIX_Q4_0, HYBRID_TYPE_LAST_, d);
    if (slow) return;
    check_apprentice(models, "gemma2", HYBRID_MIX_F32, HYBRID_TYPE_LAST_, d);
    check_apprentice(models, "gpt2", HYBRID_MIX_F16, HYBRID_TYPE_LAST_, d);
    check_apprentice(models, "lfm2", HYBRID_MIX_Q8_0, HYBRID_TYPE_LAST_, d);
    check_apprentice(models, "rwkv7", HYBRID_MIX_Q8_0, HYBRID_TYPE_LAST_, d);
    check_apprentice(models, "qwen2moe", HYBRID_MIX_F32, HYBRID_TYPE_LAST_, d); /* of experts no block types */
    if (rows) {
        snprintf(folder, sizeof folder, "%.*s", (int)(strlen(rows) - sizeof "/rows-F32.gguf" + 1), rows);
        check_apprentice(folder, "rows-F32", HYBRID_MIX_Q4_K_M, HYBRID_TYPE_LAST_, d);
    } else
        SKIP("the shared data folder has no model with rows of 256");
    d.format = HYBRID_TYPE_BF16;
    check_apprentice(models, "llama", HYBRID_MIX_Q8_0, HYBRID_TYPE_LAST_, d);
    d.format = HYBRID_TYPE_F32;
    d.recompute_every = 1;
    d.ema = 0.5f;
    d.offload_optimizer = true;
    check_apprentice(models, "qwen3", HYBRID_MIX_Q8_0, HYBRID_TYPE_LAST_, d);
}
