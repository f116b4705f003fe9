/* For test_train.c: adapters that are trained over frozen weights: against PEFT (oracle/make_lora.py), the same bits
 * for any threads, over quantized weights, and what programs do with them: learn, commit, roll back. */
#ifndef TRAIN_ADAPTERS_H
#define TRAIN_ADAPTERS_H
#include "train_models.h"

enum { PEFT_STEPS = 10, PEFT_RANK = 4, PEFT_ALPHA = 8 };

/* The file of make_lora.py has summaries as that of make_train.py has them. */
static hybrid_gguf *peft_file;

static hybrid_model *pupil_model(hybrid_runtime *rt, const char *name) { return lesson_model(rt, name, false); }

/* value_of of make_lora.py */
static void peft_fill(const char *name, float *x, int64_t n, float scale)
{
    uint32_t h = 2166136261u;
    int64_t i;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    for (i = 0; i < n; i++) {
        uint32_t v = (uint32_t)i * 2654435761u + h;
        v = (v ^ v >> 15) * 2246822519u;
        x[i] = ((float)(v >> 8) / (float)(1 << 23) - 1) * scale;
    }
}

/* A tiny model, an adapter of all its matrices with the values of make_lora.py, and what trains it. */
typedef struct pupil {
    lesson l; /* its t, m, rt and batch */
    hybrid_adapter *adapter;
} pupil;

static hybrid_trainer_desc pupil_desc(void)
{
    hybrid_trainer_desc d = lesson_desc();
    d.rate = 5e-3f;
    d.decay = 0.01f;
    return d;
}

static void pupil_fill(hybrid_adapter *a)
{
    char name[128];
    int32_t i, ab;
    for (i = 0; i < a->n_pairs; i++) {
        const hyb_adapter_pair *p = &a->pairs[i];
        for (ab = 0; ab < 2; ab++) {
            const hyb_tensor *t = ab ? &p->b : &p->a;
            const hybrid_string of = hyb_weights_source(a->model->gguf, &a->model->weights.tensors[p->w])->name;
            snprintf(name, sizeof name, "%.*s.lora_%c", (int)of.size, of.data, ab ? 'b' : 'a');
            peft_fill(name, a->values + (ab ? p->b_at : p->a_at), t->ne[0] * t->ne[1] * t->ne[2], ab ? 0.1f : 0.2f);
        }
    }
}

static hybrid_adapter *pupil_adapter(hybrid_model *m)
{
    static const char *const all = "all";
    hybrid_adapter_desc d;
    hybrid_adapter *a = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.rank = PEFT_RANK;
    d.alpha = PEFT_ALPHA;
    d.targets = &all;
    d.n_targets = 1;
    CHECK(!hybrid_adapter_create(m, &d, &a, &e), "%s", e.message);
    if (a) pupil_fill(a);
    return a;
}

static bool pupil_open(pupil *p, const char *name, const char *isa, int n_threads, hybrid_trainer_desc d)
{
    hybrid_error e;
    memset(p, 0, sizeof *p);
    if (!lesson_batch(&p->l, name)) return false;
    p->l.rt = lesson_runtime(isa, n_threads);
    p->l.m = pupil_model(p->l.rt, name);
    if (!p->l.m || !(p->adapter = pupil_adapter(p->l.m))) return false;
    d.model = p->l.m;
    d.adapter = p->adapter;
    if (!d.n_seq) d.n_seq = 2;
    if (!d.n_ctx) d.n_ctx = LESSON_T;
    CHECK(!hybrid_trainer_create(&d, &p->l.t, &e), "%s", e.message);
    return p->l.t != NULL;
}

static void pupil_close(pupil *p)
{
    hybrid_trainer_destroy(p->l.t);
    p->l.t = NULL;
    hybrid_adapter_destroy(p->adapter);
    lesson_close(&p->l);
}

/* Batch i of make_lora.py. */
static void pupil_batch(const pupil *p, int step, int32_t *ids, int32_t *targets)
{
    const int n = p->l.m->hp.n_vocab;
    int i;
    for (i = 0; i < 2 * LESSON_T; i++) {
        ids[i] = (p->l.ids[i] + 5 * step) % n;
        targets[i] = p->l.targets[i] < 0 ? -1 : (p->l.targets[i] + 5 * step) % n;
    }
}

static hybrid_train_batch pupil_next(const pupil *p, int step)
{
    static int32_t ids[2 * LESSON_T], targets[2 * LESSON_T];
    hybrid_train_batch b = p->l.batch;
    pupil_batch(p, step, ids, targets);
    b.ids = ids;
    b.targets = targets;
    return b;
}

/* ---- PEFT -------------------------------------------------------------------------------------------------------- */

static void test_peft(const char *name)
{
    const float *losses;
    pupil p;
    hybrid_gguf *lessons = lesson_file;
    hybrid_train_metrics metrics;
    hybrid_error e;
    int64_t n = 0;
    double worst = 0, apart = 0;
    int i, step;
    TEST("adapters by PEFT");
    if (!pupil_open(&p, name, NULL, 1, pupil_desc())) return;
    lesson_file = peft_file;
    losses = lesson_tensor(name, '.', "losses", &n);
    CHECK(n == PEFT_STEPS, "%s: %d losses", name, (int)n);
    CHECK(p.l.t->store.n_params == lesson_references(name), "%s: %d matrices of %d", name, p.l.t->store.n_params,
          lesson_references(name));
    for (step = 0; step < (int)n; step++) {
        const hybrid_train_batch batch = pupil_next(&p, step);
        double off;
        CHECK(!hybrid_trainer_step(p.l.t, &batch, &metrics, &e), "%s: %s", name, e.message);
        off = fabs(metrics.loss - (double)losses[step]) / (double)losses[step];
        CHECK(off <= 1e-4, "%s: loss %d is %.7g, not %.7g", name, step, metrics.loss, (double)losses[step]);
        apart = HYB_MAX(apart, off);
        for (i = 0; i < p.l.t->store.n_params && !step; i++) {
            const hyb_param *q = &p.l.t->store.params[i];
            lesson_compare(name, q, p.l.t->store.grads + q->at, &worst);
        }
    }
    printf("  %-20s gradients %.1e apart, losses %.1e\n", name, worst, apart);
    lesson_file = lessons;
    pupil_close(&p);
}

/* ---- the gradient of a sum W + scale B A goes to both ------------------------------------------------------------ */

/* One pair, of experts that of one, with A and B as they were and the gradient dw of the matrix: dA = scale B^T dw,
 * dB = scale dw A^T. */
static double merged_apart(const hyb_adapter_pair *all, int64_t expert, const float *values, const float *dw,
                           const float *grads)
{
    hyb_adapter_pair one = *all;
    const hyb_adapter_pair *p = &one;
    const int64_t k = p->a.ne[0], out = p->b.ne[1], rank = p->rank;
    double worst = 0;
    int64_t i, j, c;
    int ab;
    one.a_at += (size_t)(expert * rank * k);
    one.b_at += (size_t)(expert * out * rank);
    dw += expert * out * k;
    for (ab = 0; ab < 2; ab++) {
        double off = 0, most = 0;
        for (i = 0; i < (ab ? out : k); i++)
            for (j = 0; j < rank; j++) {
                const float *g = grads + (ab ? p->b_at + (size_t)(i * rank + j) : p->a_at + (size_t)(j * k + i));
                double sum = 0;
                for (c = 0; c < (ab ? k : out); c++)
                    sum += ab ? (double)dw[i * k + c] * (double)values[p->a_at + (size_t)(j * k + c)]
                              : (double)values[p->b_at + (size_t)(c * rank + j)] * (double)dw[c * k + i];
                off = HYB_MAX(off, fabs((double)p->scale * sum - (double)*g));
                most = HYB_MAX(most, fabs((double)p->scale * sum));
            }
        CHECK(most > 0 || all->a.ne[2] > 1, "a gradient of zeros");
        if (most == 0) CHECK(off == 0, "an expert that nobody chose has a gradient");
        if (most == 0) continue;
        worst = HYB_MAX(worst, off / most);
    }
    return worst;
}

/* The gradients of an adapter are those of the model that it makes, trained itself, which were held to PyTorch's. */
static void test_adapter_merged(const char *name)
{
    pupil p;
    lesson l;
    hybrid_error e;
    float *values;
    double worst = 0;
    int32_t i, at;
    int64_t r, c, j;
    TEST("adapters over weights that are trained");
    if (!pupil_open(&p, name, NULL, 2, pupil_desc()) || !lesson_open(&l, name, NULL, 2, lesson_desc())) return;
    TEST("adapters over weights that are trained");
    values = (float *)malloc(sizeof *values * p.adapter->n_values);
    memcpy(values, p.adapter->values, sizeof *values * p.adapter->n_values);
    for (i = 0; i < p.adapter->n_pairs; i++) {
        const hyb_adapter_pair *pair = &p.adapter->pairs[i];
        float *w = l.m->place.gpu ? NULL : (float *)(uintptr_t)l.m->weights.tensors[pair->w].data;
        for (r = 0; r < pair->b.ne[1] * pair->b.ne[2]; r++)
            for (c = 0; c < pair->a.ne[0]; c++) {
                const int64_t row = r / pair->b.ne[1] * pair->rank; /* of A: the first of this expert */
                double sum = 0;
                for (j = 0; j < pair->rank; j++)
                    sum += (double)values[pair->b_at + (size_t)(r * pair->rank + j)] *
                           (double)values[pair->a_at + (size_t)((row + j) * pair->a.ne[0] + c)];
                w[r * pair->a.ne[0] + c] += (float)((double)pair->scale * sum);
            }
    }
    CHECK(!hybrid_trainer_step(p.l.t, &p.l.batch, NULL, &e), "%s", e.message);
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
    for (i = 0; i < p.adapter->n_pairs; i++) {
        const hyb_adapter_pair *pair = &p.adapter->pairs[i];
        const hybrid_string of = hyb_weights_source(l.m->gguf, &l.m->weights.tensors[pair->w])->name;
        double off = 0;
        for (at = 0; at < l.t->store.n_params && l.t->store.params[at].name.data != of.data; at++) {}
        CHECK(at < l.t->store.n_params, "%s: %.*s is not trained", name, (int)of.size, of.data);
        if (at == l.t->store.n_params) continue;
        for (r = 0; r < pair->a.ne[2]; r++) {
            const float *dw = l.t->store.grads + l.t->store.params[at].at;
            off = HYB_MAX(off, merged_apart(pair, r, values, dw, p.l.t->store.grads));
        }
        CHECK(off <= 1e-4, "%s: gradients of the pair of %.*s are %.1e apart", name, (int)of.size, of.data, off);
        worst = HYB_MAX(worst, off);
    }
    printf("  %-20s %d pairs, gradients %.1e apart\n", name, p.adapter->n_pairs, worst);
    free(values);
    lesson_close(&l);
    pupil_close(&p);
}

/* ---- over experts of block types --------------------------------------------------------------------------------- */

/* One step of an adapter over the weights of a file, and its gradients. */
typedef struct over {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_adapter *a;
    hybrid_trainer *t;
} over;

static bool over_step(over *o, const char *path, const lesson *l)
{
    hybrid_model_desc md;
    hybrid_trainer_desc d = pupil_desc();
    hybrid_error e;
    bool good;
    memset(o, 0, sizeof *o);
    memset(&md, 0, sizeof md);
    md.path = path;
    o->rt = lesson_runtime(NULL, 2);
    good = !hybrid_model_load(o->rt, &md, &o->m, &e) && (o->a = pupil_adapter(o->m)) != NULL;
    d.adapter = o->a;
    d.n_seq = 2;
    d.n_ctx = LESSON_T;
    good = good && !hybrid_trainer_create(&d, &o->t, &e) && !hybrid_trainer_step(o->t, &l->batch, NULL, &e);
    CHECK(good, "%s: %s", path, e.message);
    return good;
}

static void over_end(over *o)
{
    hybrid_trainer_destroy(o->t);
    hybrid_adapter_destroy(o->a);
    hybrid_model_destroy(o->m);
    hybrid_runtime_destroy(o->rt);
}

/* Over weights of Q8_0, which are multiplied with bytes, the gradients are those over the same weights as floats, but
 * for the rounding of what is multiplied. */
static void test_adapter_over_bytes(const char *name)
{
    char path[2][64];
    over o[2];
    lesson l;
    hybrid_model *m;
    hybrid_error e;
    double worst = 0;
    int i, ab;
    int64_t k;
    TEST("adapters over experts of block types");
    if (!lesson_batch(&l, name)) return;
    for (i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "build/over-%d-%d.gguf", i, (int)getpid());
    m = lesson_model(NULL, name, false);
    CHECK(!hybrid_adapter_merge(m, NULL, NULL, 0, path[0], HYBRID_MIX_Q8_0, &e), "%s", e.message);
    hybrid_model_destroy(m);
    if (over_step(&o[0], path[0], &l)) {
        CHECK(!hybrid_adapter_merge(o[0].m, NULL, NULL, 0, path[1], HYBRID_MIX_F32, &e), "%s", e.message);
        if (over_step(&o[1], path[1], &l))
            for (i = 0; i < 2 * o[0].a->n_pairs; i++) {
                const hyb_adapter_pair *p = &o[0].a->pairs[i / 2];
                const float *x = o[0].t->store.grads, *y = o[1].t->store.grads;
                double off = 0, square = 0;
                ab = i % 2;
                x += ab ? p->b_at : p->a_at;
                y += ab ? p->b_at : p->a_at;
                for (k = 0; k < (int64_t)hyb_adapter_count(ab ? &p->b : &p->a); k++) {
                    off += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]);
                    square += (double)y[k] * (double)y[k];
                }
                CHECK(square > 0 && off < 0.01 * square, "%s: pair %d: %.1e apart", name, i / 2, sqrt(off / square));
                worst = HYB_MAX(worst, square > 0 ? sqrt(off / square) : 1);
            }
        over_end(&o[1]);
    }
    over_end(&o[0]);
    printf("  %-20s gradients over Q8_0 %.1e from those over floats\n", name, worst);
    for (i = 0; i < 2; i++) remove(path[i]);
}

/* A rank above all widths of a mixture, whose way back works in more memory then. */
static void test_adapter_wide(const char *name)
{
    hybrid_adapter_desc ad;
    hybrid_trainer_desc d = pupil_desc();
    hybrid_train_metrics first, last;
    hybrid_error e;
    hybrid_runtime *rt = lesson_runtime(NULL, 2);
    hybrid_model *m = lesson_model(rt, name, false);
    const char *const target = "ffn_down_exps";
    lesson l;
    int i;
    TEST("adapters of a large rank");
    memset(&ad, 0, sizeof ad);
    ad.rank = 300;
    ad.targets = &target;
    ad.n_targets = 1;
    CHECK(!hybrid_adapter_create(m, &ad, &d.adapter, &e), "%s", e.message);
    d.n_seq = 2;
    d.n_ctx = LESSON_T;
    memset(&l, 0, sizeof l);
    memset(&first, 0, sizeof first);
    if (lesson_batch(&l, name) && !hybrid_trainer_create(&d, &l.t, &e))
        for (i = 0; i < 4; i++) {
            CHECK(!hybrid_trainer_step(l.t, &l.batch, i ? &last : &first, &e), "%s", e.message);
            if (i) CHECK(last.loss < first.loss, "%s: step %d: %g, %g", name, i, first.loss, last.loss);
        }
    CHECK(l.t != NULL, "%s", name);
    hybrid_trainer_destroy(l.t);
    hybrid_adapter_destroy(d.adapter);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
}

/* ---- the same whatever computes, and nothing that nobody wants --------------------------------------------------- */

static uint64_t pupil_hash(const void *data, size_t size)
{
    hyb_hash_key key;
    memset(&key, 0, sizeof key);
    return hyb_hash(&key, data, size);
}
static uint64_t pupil_values(const hybrid_adapter *a) { return pupil_hash(a->values, a->n_values * sizeof(float)); }

/* Of all that two steps make. */
static uint64_t pupil_result(const char *name, const char *isa, int n_threads, int32_t recompute_every)
{
    hybrid_trainer_desc d = pupil_desc();
    const hyb_store *store;
    hybrid_error e;
    uint64_t all[3] = { 0, 0, 0 };
    pupil p;
    int step;
    d.recompute_every = recompute_every;
    if (!pupil_open(&p, name, isa, n_threads, d)) return 0;
    for (step = 0; step < 2; step++) {
        const hybrid_train_batch batch = pupil_next(&p, step);
        CHECK(!hybrid_trainer_step(p.l.t, &batch, NULL, &e), "%s", e.message);
    }
    store = &p.l.t->store;
    all[0] = pupil_values(p.adapter);
    all[1] = pupil_hash(store->grads, sizeof(float) * (size_t)store->n_values);
    all[2] = pupil_hash(store->states, sizeof(float) * (size_t)store->n_states);
    pupil_close(&p);
    return pupil_hash(all, sizeof all);
}

static void test_adapter_bits(const char *name)
{
    const uint64_t one = pupil_result(name, NULL, 1, 0);
    TEST("adapters: the same bits");
    CHECK(pupil_result(name, NULL, 2, 0) == one, "%s: 2 threads", name);
    CHECK(pupil_result(name, NULL, 3, 0) == one, "%s: 3 threads", name);
    CHECK(pupil_result(name, "generic", 1, 0) == one, "%s: generic", name);
    CHECK(pupil_result(name, NULL, 1, 1) == one, "%s: layers once more on the way back", name);
}

/* A back end that looks at what gradients it is asked for. */
static struct spy {
    const hyb_backend_ops *real;
    const float *grads;
    int64_t n_values;
    int n_matrices, n_wrong;
} spy;
static void spy_matmul_back_w(hyb_backend *be, const hyb_op_matmul_back_w *op)
{
    int i;
    for (i = 0; i < op->n_out; i++) {
        const float *dw = op->out[i].dw;
        spy.n_matrices++;
        spy.n_wrong += !dw || dw < spy.grads || dw >= spy.grads + spy.n_values || op->out[i].dbias;
    }
    spy.real->matmul_back_w(be, op);
}
static void spy_embed_back(hyb_backend *be, const hyb_op_embed_back *op)
{
    spy.n_wrong += op->index != HYB_INDEX_OUT; /* rows of a gradient put in their places */
    spy.real->embed_back(be, op);
}
static void spy_norm_back(hyb_backend *be, const hyb_op_norm_back *op)
{
    spy.n_wrong += op->dw != NULL || op->db != NULL;
    spy.real->norm_back(be, op);
}

static void test_adapter_frozen(const char *name)
{
    static hyb_backend_ops ops;
    hyb_backend *be;
    hybrid_error e;
    pupil p;
    TEST("adapters: no gradient of what is frozen");
    if (!pupil_open(&p, name, NULL, 1, pupil_desc())) return;
    be = p.l.t->objective->cut.real;
    memset(&spy, 0, sizeof spy);
    spy.real = be->ops;
    spy.grads = p.l.t->store.grads;
    spy.n_values = p.l.t->store.n_values;
    ops = *be->ops;
    ops.matmul_back_w = spy_matmul_back_w;
    ops.embed_back = spy_embed_back;
    ops.norm_back = spy_norm_back;
    be->ops = &ops;
    CHECK(!hybrid_trainer_step(p.l.t, &p.l.batch, NULL, &e), "%s", e.message);
    be->ops = spy.real;
    CHECK(spy.n_matrices == 2 * p.adapter->n_pairs, "%s: %d gradients of %d matrices", name, spy.n_matrices,
          2 * p.adapter->n_pairs);
    CHECK(!spy.n_wrong, "%s: %d gradients that nobody wants", name, spy.n_wrong);
    pupil_close(&p);
}

/* ---- lessons over a quantized model ------------------------------------------------------------------------------ */

static const int32_t told[2][24] = { { 1, 30, 41, 52, 63, 74, 85, 96, 107, 118, 129, 140 },
                                     { 1, 33, 49, 50, 61, 72, 83, 94, 105, 116, 127, 138, 149, 160, 171, 182 } };

/* A quantized model, and a lesson of two examples, the second longer. */
typedef struct school_of {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_example examples[2];
    hybrid_learn_desc lesson;
} school_of;

static void school_open(school_of *s, hybrid_runtime *rt)
{
    hybrid_model_desc d;
    hybrid_error e;
    int i;
    memset(s, 0, sizeof *s);
    memset(&d, 0, sizeof d);
    d.path = "examples/data/stories260K-q8_0.gguf";
    s->rt = rt;
    CHECK(!hybrid_model_load(rt, &d, &s->m, &e), "%s", e.message);
    for (i = 0; i < 2; i++) {
        s->examples[i].ids = told[i];
        s->examples[i].n_ids = i ? 16 : 12;
        s->examples[i].n_prompt = 4;
    }
    s->lesson.examples = s->examples;
    s->lesson.n_examples = 2;
    s->lesson.n_steps = 6;
    s->lesson.n_batch = 1;
    s->lesson.rate = 5e-3f;
}

static hybrid_adapter *school_adapter(const school_of *s)
{
    static const char *const all = "all";
    hybrid_adapter_desc d;
    hybrid_adapter *a = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.rank = 4;
    d.targets = &all;
    d.n_targets = 1;
    CHECK(!hybrid_adapter_create(s->m, &d, &a, &e), "%s", e.message);
    return a;
}

/* Learns in slices of budget_us; 0: at once. */
static hybrid_learn_info school_learn(hybrid_adapter *a, const hybrid_learn_desc *d, uint64_t budget_us)
{
    hybrid_learn_info info;
    hybrid_error e;
    int calls = 1;
    memset(&info, 0, sizeof info);
    CHECK(!hybrid_adapter_learn(a, d, budget_us, &info, &e), "%s", e.message);
    for (; info.n_left && calls < 100000; calls++)
        CHECK(!hybrid_adapter_learn(a, NULL, budget_us, &info, &e), "%s", e.message);
    CHECK(!budget_us || calls > 2 * d->n_steps, "%d calls of %d us", calls, (int)budget_us);
    CHECK(budget_us || calls == 1, "%d calls without a budget", calls);
    return info;
}

/* Everything that learning changes. */
static uint64_t school_state(const hybrid_adapter *a)
{
    const hybrid_trainer *t = a->learner->trainer;
    uint64_t all[3];
    all[0] = pupil_values(a);
    all[1] = pupil_hash(t->store.states, sizeof(float) * (size_t)t->store.n_states);
    all[2] = (uint64_t)t->step;
    return pupil_hash(all, sizeof all);
}

static void test_lessons(void)
{
    school_of s;
    hybrid_learn_desc other;
    hybrid_learn_info info;
    hybrid_adapter *a, *b;
    hybrid_error e;
    uint64_t empty, first;
    TEST("lessons");
    school_open(&s, lesson_runtime(NULL, 2));
    a = school_adapter(&s);
    b = school_adapter(&s);
    other = s.lesson;
    other.seed = 7;
    other.n_batch = 2;
    other.n_steps = 3;
    empty = pupil_values(a);
    CHECK(empty == pupil_values(b), "two adapters that are not the same");
    CHECK(!hybrid_adapter_rollback(a, &e), "%s", e.message);
    info = school_learn(a, &s.lesson, 0);
    CHECK(info.n_done == 6 && info.n_steps == 6, "%d and %d steps", info.n_done, (int)info.n_steps);
    CHECK(info.loss < 0.8 * info.first_loss, "the loss was %g, and is %g", info.first_loss, info.loss);
    first = school_state(a);
    school_learn(b, &s.lesson, 1);
    CHECK(school_state(b) == first, "a lesson in slices gives other bits");
    CHECK(!hybrid_adapter_commit(a, &e), "%s", e.message);
    school_learn(a, &other, 0);
    CHECK(school_state(a) != first, "a lesson without an effect");
    CHECK(!hybrid_adapter_learn(a, &s.lesson, 1, &info, &e), "%s", e.message); /* is under way */
    CHECK(!hybrid_adapter_rollback(a, &e), "%s", e.message);
    CHECK(school_state(a) == first, "rolled back to something else");
    CHECK(hybrid_adapter_learn(a, NULL, 0, &info, &e) == HYBRID_ERROR_INVALID, "a lesson that was rolled back goes on");
    other.seed = 8;
    info = school_learn(a, &other, 0);
    CHECK(info.n_steps == 9, "%d steps", (int)info.n_steps);
    school_learn(b, &other, 0);
    CHECK(school_state(a) == school_state(b), "after a way back, lessons have other results");
    CHECK(!hybrid_adapter_rollback(b, &e), "%s", e.message);
    CHECK(pupil_values(b) == empty, "without a commit, rolled back to something else than the beginning");
    hybrid_adapter_destroy(a);
    hybrid_adapter_destroy(b);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
}

/* A longer example asks for more memory: the moments are kept. And a lesson ends when it is learned well enough. */
static void test_lessons_grow(void)
{
    school_of s;
    hybrid_learn_desc small, large;
    hybrid_learn_info info;
    hybrid_adapter *a, *b;
    hybrid_error e;
    TEST("lessons: more memory");
    school_open(&s, lesson_runtime(NULL, 1));
    a = school_adapter(&s);
    b = school_adapter(&s);
    small = large = s.lesson;
    small.n_examples = 1;
    small.n_steps = large.n_steps = 3;
    large.n_batch = 2;
    school_learn(a, &small, 0);
    school_learn(a, &large, 0);
    CHECK(!hybrid_adapter_learn(b, &large, 1, &info, &e), "%s", e.message); /* takes the memory, ends no step */
    CHECK(!info.n_done, "%d steps in a microsecond", info.n_done);
    school_learn(b, &small, 0);
    school_learn(b, &large, 0);
    CHECK(school_state(a) == school_state(b), "other results with memory that grew");
    large.enough = 100;
    info = school_learn(a, &large, 0);
    CHECK(info.n_done == 1, "%d steps of a lesson that was learned", info.n_done);
    hybrid_adapter_destroy(a);
    hybrid_adapter_destroy(b);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
}

/* Each allocation of a lesson fails once, the first and one that needs more memory: nothing has changed. */
static void test_lessons_memory(void)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    ration given = { 0, 0, 0 };
    school_of s;
    hybrid_learn_desc small;
    hybrid_adapter *a;
    hybrid_error e;
    hybrid_result r;
    int turn;
    TEST("lessons: allocations that fail");
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = ration_alloc;
    rd.allocator.free = ration_free;
    rd.allocator.user = &given;
    rd.n_threads = 1;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    school_open(&s, rt);
    a = school_adapter(&s);
    small = s.lesson;
    small.n_examples = 1;
    s.lesson.n_batch = 2;
    for (turn = 0; turn < 2; turn++) {
        uint64_t was = turn ? school_state(a) : pupil_values(a);
        given.fail_at = 1;
        do {
            given.calls = 0;
            r = hybrid_adapter_learn(a, turn ? &s.lesson : &small, 0, NULL, &e);
            CHECK(!r || r == HYBRID_ERROR_MEMORY, "allocation %ld: %s", given.fail_at, e.message);
            if (r) CHECK((turn ? school_state(a) : pupil_values(a)) == was, "allocation %ld", given.fail_at);
        } while (r && given.fail_at++ < 200);
        CHECK(!r && given.fail_at > 6, "%ld allocations", given.fail_at);
    }
    given.fail_at = 0;
    hybrid_adapter_destroy(a);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
    CHECK(!given.live, "%ld bytes leaked", (long)given.live);
}

/* A loss that is not finite ends a lesson, and the adapter stays as it was. */
static void test_lessons_numeric(void)
{
    school_of s;
    hybrid_learn_info info;
    hybrid_adapter *a;
    hybrid_error e;
    uint64_t was;
    TEST("lessons: a loss that is not finite");
    school_open(&s, lesson_runtime(NULL, 1));
    a = school_adapter(&s);
    a->values[a->pairs[0].b_at] = (float)NAN;
    was = pupil_values(a);
    CHECK(hybrid_adapter_learn(a, &s.lesson, 0, NULL, &e) == HYBRID_ERROR_NUMERIC, "learned");
    CHECK(pupil_values(a) == was, "the adapter was changed");
    CHECK(!hybrid_adapter_learn(a, NULL, 0, &info, &e) && !info.n_left, "a lesson that goes on");
    a->values[a->pairs[0].b_at] = 0;
    info = school_learn(a, &s.lesson, 0);
    CHECK(info.loss < info.first_loss, "%g, %g", info.first_loss, info.loss);
    hybrid_adapter_destroy(a);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
}

/* A callback of a lesson may not begin another, or end the adapter. */
static void test_lessons_inside(void)
{
    school_of s;
    hybrid_adapter_info info, after;
    hybrid_adapter *a;
    hybrid_error e;
    TEST("lessons: calls from within");
    school_open(&s, lesson_runtime(NULL, 1));
    a = school_adapter(&s);
    hybrid_adapter_describe(a, &info);
    school_learn(a, &s.lesson, 0);
    hybrid_adapter_describe(a, &after);
    CHECK(after.bytes - info.bytes == a->n_values * sizeof(float) + HYB_ALIGNED_EXTRA, "%d bytes more",
          (int)(after.bytes - info.bytes));
    a->in_use = hyb_process();
    CHECK(hybrid_adapter_learn(a, &s.lesson, 0, NULL, &e) == HYBRID_ERROR_INVALID, "learned");
    CHECK(strstr(e.message, "in use"), "%s", e.message);
    CHECK(hybrid_adapter_commit(a, &e) == HYBRID_ERROR_INVALID, "committed");
    CHECK(hybrid_adapter_rollback(a, &e) == HYBRID_ERROR_INVALID, "rolled back");
    hybrid_adapter_destroy(a);
    a->in_use = 0;
    school_learn(a, &s.lesson, 0);
    hybrid_adapter_destroy(a);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
}

/* Texts are learned as a session writes them: what is read first is the prompt of a session, what follows the answer.
 */
static void test_lessons_text(const char *name)
{
    hybrid_runtime *rt = lesson_runtime(NULL, 1);
    hybrid_model *m = lesson_model(rt, name, false);
    hybrid_chat_message talk[2];
    hybrid_prompt_desc said;
    hyb_lesson *l = NULL;
    hybrid_example ex;
    hybrid_learn_desc d;
    hybrid_text prompt;
    hybrid_error e;
    int32_t ids[256], i;
    size_t n = 0, first;
    TEST("lessons: texts");
    memset(&ex, 0, sizeof ex);
    memset(&d, 0, sizeof d);
    memset(&said, 0, sizeof said);
    memset(&prompt, 0, sizeof prompt);
    ex.system = "be brief";
    ex.prompt = "where is it \"now\"?";
    ex.answer = "under the stone";
    d.examples = &ex;
    d.n_examples = 1;
    talk[0].role = "system";
    talk[0].content = ex.system;
    talk[1].role = "user";
    talk[1].content = ex.prompt;
    said.messages = talk;
    said.n_messages = 2;
    CHECK(!hyb_prompt_messages(m, &said, &prompt, &e), "%s", e.message);
    CHECK(!hybrid_tokenize(m->tokenizer, prompt.data, prompt.size, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, 256, &n, &e),
          "%s", e.message);
    CHECK(!hyb_lesson_create(rt, m, &d, &l, &e), "%s: %s", name, e.message);
    if (l) {
        const int32_t bos =
            hybrid_tokenizer_adds_bos(m->tokenizer) && ids[0] != hybrid_token_role_id(m->tokenizer, HYBRID_ROLE_BOS);
        for (first = 0; first < l->n_tokens && l->targets[first] < 0; first++) {}
        CHECK(first + 1 == n + (size_t)bos, "%s: the answer begins after %d tokens, not %d", name, (int)first + 1,
              (int)n + bos);
        CHECK(!memcmp(l->ids + bos, ids, n * sizeof *ids), "%s: another prompt", name);
        for (i = (int32_t)first; i < l->items[0].n && l->targets[i] >= 0; i++) {}
        CHECK(i == l->items[0].n || hybrid_token_is_end(m->tokenizer, l->targets[i - 1]),
              "%s: token %d of the answer is not learned", name, i);
        CHECK(i > (int32_t)first + 2 && i + 2 >= l->items[0].n, "%s: %d of %d tokens", name, i, l->items[0].n);
    }
    hyb_lesson_free(l);
    hybrid_text_free(&prompt);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
}

/* What is trained is what sequences wear, and what a trainer of an adapter refuses. */
static void test_adapter_worn(void)
{
    static float before[512], after[512], back[512];
    static int32_t targets[64];
    school_of s;
    hybrid_context_desc cd;
    hybrid_trainer_desc td;
    hybrid_context *c = NULL;
    hybrid_trainer *t = NULL, *none = NULL;
    hybrid_model *other;
    hybrid_adapter *a;
    hybrid_train_batch batch;
    hybrid_error e;
    double first = 0, loss = 0, part = 0;
    size_t size;
    lesson l;
    int i;
    TEST("adapters: what is trained is worn");
    school_open(&s, lesson_runtime(NULL, 2));
    a = school_adapter(&s);
    memset(&l, 0, sizeof l);
    memset(&cd, 0, sizeof cd);
    memset(&td, 0, sizeof td);
    memset(&batch, 0, sizeof batch);
    l.m = s.m;
    for (i = 0; i < 64; i++) l.ids[i] = (i * i * 7 % 500) + 3;
    for (i = 0; i < 63; i++) targets[i] = l.ids[i + 1];
    cd.n_ctx = 64;
    size = sizeof(float) * (size_t)s.m->hp.n_vocab;
    CHECK(!hybrid_context_create(s.m, &cd, &c, &e), "%s", e.message);
    CHECK(!hybrid_seq_set_adapters(c, 0, &a, NULL, 1, &e), "%s", e.message);
    lesson_logits(c, &l, before);
    td.adapter = a;
    td.n_seq = 2;
    td.n_ctx = 64;
    td.rate = 3e-3f;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    if (!t) return;
    batch.ids = l.ids;
    batch.targets = targets;
    batch.n_seq = 1;
    CHECK(!hybrid_trainer_evaluate(t, &batch, &first, &e), "%s", e.message);
    for (i = 0; i < 4; i++) CHECK(!hybrid_trainer_step(t, &batch, NULL, &e), "%s", e.message);
    CHECK(!hybrid_trainer_evaluate(t, &batch, &loss, &e), "%s", e.message);
    CHECK(loss < first - 0.1, "the loss was %g, and is %g", first, loss);
    lesson_logits(c, &l, after);
    CHECK(memcmp(before, after, size), "a sequence does not see what was trained");
    CHECK(!hybrid_adapter_rollback(a, &e), "%s", e.message);
    lesson_logits(c, &l, back);
    CHECK(!memcmp(before, back, size), "rolled back, a sequence has other logits");
    batch.n_ctx = 20; /* a shorter one is the beginning of the longer one */
    CHECK(!hybrid_trainer_evaluate(t, &batch, &part, &e), "%s", e.message);
    batch.n_ctx = 0;
    for (i = 20; i < 64; i++) targets[i] = -1;
    CHECK(!hybrid_trainer_evaluate(t, &batch, &loss, &e), "%s", e.message);
    CHECK(part == loss, "losses of a shorter batch are %.9g, not %.9g", part, loss);
    batch.n_seq = 3;
    CHECK(hybrid_trainer_evaluate(t, &batch, &loss, &e) == HYBRID_ERROR_INVALID,
          "3 sequences, where there is room for 2");
    CHECK(hybrid_trainer_export(t, "build/none.gguf", HYBRID_MIX_F32, &e) == HYBRID_ERROR_INVALID, "exported");
    CHECK(strstr(e.message, "hybrid_adapter_save"), "%s", e.message);
    other = lesson_model(s.rt, "smollm", false);
    td.model = other;
    CHECK(hybrid_trainer_create(&td, &none, &e) == HYBRID_ERROR_INVALID && !none, "an adapter of another model");
    CHECK(strstr(e.message, "another model"), "%s", e.message);
    hybrid_model_destroy(other);
    hybrid_trainer_destroy(t);
    hybrid_context_destroy(c);
    hybrid_adapter_destroy(a);
    hybrid_model_destroy(s.m);
    hybrid_runtime_destroy(s.rt);
}

static void test_adapters(void)
{
    static const char *const names[] = { "llama", "gpt2", "gemma3", "phi3", "qwen3", "llama-biases" };
    hybrid_source source;
    hybrid_error e;
    size_t i;
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/lora.gguf";
    CHECK(!hybrid_gguf_open(NULL, &source, &peft_file, &e), "%s", e.message);
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (test_wanted_as("peft %s", names[i])) test_peft(names[i]);
    PART(test_adapter_bits("gemma3"));
    PART(test_adapter_bits("gpt2"));
    PART(test_adapter_bits("lfm2"));
    PART(test_adapter_bits("qwen2moe"));
    PART(test_adapter_bits("rwkv7"));
    PART(test_adapter_merged("gemma3"));
    PART(test_adapter_merged("lfm2"));
    PART(test_adapter_merged("qwen2moe"));
    PART(test_adapter_merged("mixtral"));
    PART(test_adapter_merged("qwen3moe"));
    PART(test_adapter_over_bytes("mixtral"));
    PART(test_adapter_wide("mixtral"));
    PART(test_adapter_over_bytes("qwen2moe"));
    PART(test_adapter_merged("rwkv7"));
    PART(test_adapter_merged("arwkv7"));
    PART(test_adapter_frozen("llama-biases"));
    PART(test_adapter_frozen("gpt2"));
    PART(test_adapter_frozen("qwen3"));
    PART(test_adapter_worn());
    PART(test_lessons());
    PART(test_lessons_grow());
    PART(test_lessons_memory());
    PART(test_lessons_numeric());
    PART(test_lessons_inside());
    PART(test_lessons_text("smollm"));
    PART(test_lessons_text("llama"));
    hybrid_gguf_destroy(peft_file);
}
#endif
