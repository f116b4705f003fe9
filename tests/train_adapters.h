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
            peft_fill(name, a->values + (ab ? p->b_at : p->a_at), t->ne[0] * t->ne[1], ab ? 0.1f : 0.2f);
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

static void test_adapters(void)
{
    static const char *const names[] = { "llama", "gpt2", "gemma3", "phi3", "qwen3", "llama-biases" };
    hybrid_source source;
    hybrid_error e;
    size_t i;
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/lora.gguf";
    CHECK(!hybrid_gguf_open(NULL, &source, &peft_file, &e), "%s", e.message);
    for (i = 0; i < sizeof names / sizeof *names; i++) test_peft(names[i]);
    hybrid_gguf_destroy(peft_file);
    hybrid_gguf_destroy(lesson_file);
}
#endif
