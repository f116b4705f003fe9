/* run: what make_run.py asks of hybrid.
 *
 *     cc -O2 tests/oracle/run.c -I. -o build/run -lm
 *     run export NAME OUT.gguf              a model of run.h with its first weights
 *     run steps NAME                        the losses of its steps, a line each
 *     run batches NAME                      what it reads: a line a step, ids, then targets
 *     run tokens MODEL.gguf TEXT N          the first N tokens of a text
 *     run tune MODEL.gguf TEXT N_STEPS [OUT.gguf]   a full fine-tuning on windows of a text, 2 of 64 tokens: the losses
 *     run greedy MODEL.gguf N ID...         the N likeliest tokens after those, each with the gap to the second
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include "run.h"
#include <stdio.h>
#include <stdlib.h>

static hybrid_error e;

static int fail(void)
{
    fprintf(stderr, "run: %s\n", e.message);
    return 1;
}

static hybrid_runtime *runtime(void)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    memset(&d, 0, sizeof d);
    d.n_threads = getenv("RUN_THREADS") ? atoi(getenv("RUN_THREADS")) : 1;
    d.device = "cpu";
    hybrid_runtime_create(&d, &rt, &e);
    return rt;
}

static const run_shape *shape_of(const char *name)
{
    int i;
    for (i = 0; i < 2; i++)
        if (!strcmp(run_shapes[i].name, name)) return &run_shapes[i];
    snprintf(e.message, sizeof e.message, "there is no %s", name);
    return NULL;
}

static int export_model(const run_shape *s, const char *path)
{
    hybrid_trainer_desc d;
    hybrid_trainer *t;
    run_desc(s, &d);
    if (!(d.model = run_model(runtime(), s, &e)) || hybrid_trainer_create(&d, &t, &e) ||
        hybrid_trainer_export(t, path, HYBRID_MIX_F32, &e))
        return fail();
    return 0;
}

static int steps(const run_shape *s, bool learn)
{
    static int32_t ids[4096], targets[4096];
    const int32_t n = s->n_seq * s->n_tokens;
    hybrid_train_batch batch;
    hybrid_train_metrics m;
    hybrid_trainer_desc d;
    hybrid_trainer *t = NULL;
    uint64_t state = 1;
    int32_t step, i;
    memset(&batch, 0, sizeof batch);
    batch.ids = ids;
    batch.targets = targets;
    run_desc(s, &d);
    if (learn && (!(d.model = run_model(runtime(), s, &e)) || hybrid_trainer_create(&d, &t, &e))) return fail();
    for (step = 0; step < s->n_steps; step++) {
        run_batch(s, &state, ids, targets);
        for (i = 0; i < 2 * n && !learn; i++)
            printf("%d%c", i < n ? ids[i] : targets[i - n], i < 2 * n - 1 ? ' ' : '\n');
        if (!learn) continue;
        if (hybrid_trainer_step(t, &batch, &m, &e)) return fail();
        printf("%.9f\n", m.loss);
        fflush(stdout);
    }
    return 0;
}

/* The tokens of a text's beginning; NULL: e says why. */
static int32_t *tokens_of(const hybrid_model *model, const char *path, size_t n)
{
    char *text = (char *)malloc(n * 8 + 1);
    int32_t *ids = (int32_t *)malloc(sizeof *ids * (n * 8 + 1));
    size_t size, found = 0;
    FILE *f = fopen(path, "rb");
    if (!f || !text || !ids) return NULL;
    size = fread(text, 1, n * 8, f);
    fclose(f);
    if (hybrid_tokenize(hybrid_model_tokenizer(model), text, size, 0, ids, n * 8, &found, &e) || found < n) return NULL;
    free(text);
    return ids;
}

static hybrid_model *load(const char *path, bool trainable)
{
    hybrid_model_desc d;
    hybrid_model *model = NULL;
    memset(&d, 0, sizeof d);
    d.path = path;
    d.trainable = trainable;
    hybrid_model_load(runtime(), &d, &model, &e);
    return model;
}

static int tune(const char *path, const char *text, int n_steps, const char *out)
{
    hybrid_model *model = load(path, true);
    const int32_t *ids = model ? tokens_of(model, text, (size_t)n_steps * 128 + 1) : NULL;
    hybrid_trainer_desc d;
    hybrid_train_metrics m;
    hybrid_trainer *t;
    int step;
    run_tune_desc(&d);
    d.model = model;
    if (!ids || hybrid_trainer_create(&d, &t, &e)) return fail();
    for (step = 0; step < n_steps; step++) {
        hybrid_train_batch batch;
        memset(&batch, 0, sizeof batch);
        batch.ids = ids + step * 128;
        batch.targets = batch.ids + 1;
        if (hybrid_trainer_step(t, &batch, &m, &e)) return fail();
        printf("%.9f\n", m.loss);
        fflush(stdout);
    }
    return out && hybrid_trainer_export(t, out, HYBRID_MIX_F32, &e) ? fail() : 0;
}

static int greedy(const char *path, int n, int n_ids, char **given)
{
    hybrid_model *model = load(path, false);
    hybrid_context *context;
    hybrid_context_desc d;
    hybrid_model_info info;
    int32_t id = 0;
    int i;
    memset(&d, 0, sizeof d);
    d.n_ctx = n + n_ids + 8;
    if (!model || hybrid_context_create(model, &d, &context, &e)) return fail();
    hybrid_model_describe(model, &info);
    for (i = 0; i < n_ids + n; i++) {
        const float *logits;
        int32_t v, second = -1;
        if (i < n_ids) id = atoi(given[i]);
        if (hybrid_batch_add(context, 0, &id, 1, &e)) return fail();
        if (i + 1 < n_ids) continue;
        if (hybrid_decode(context, &e)) return fail();
        logits = hybrid_logits(context, 0);
        for (v = 1, id = 0; v < info.n_vocab; v++)
            if (logits[v] > logits[id]) id = v;
        for (v = 0; v < info.n_vocab; v++)
            if (v != id && (second < 0 || logits[v] > logits[second])) second = v;
        if (i + 1 < n_ids + n) printf("%d %.6f\n", id, (double)(logits[id] - logits[second]));
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    const run_shape *s;
    int i, n;
    if (!strcmp(what, "tune") && argc > 4) return tune(argv[2], argv[3], atoi(argv[4]), argc > 5 ? argv[5] : NULL);
    if (!strcmp(what, "greedy") && argc > 4) return greedy(argv[2], atoi(argv[3]) + 1, argc - 4, argv + 4);
    if (!strcmp(what, "tokens") && argc > 4) {
        const hybrid_model *model = load(argv[2], false);
        const int32_t *ids = model ? tokens_of(model, argv[3], (size_t)(n = atoi(argv[4]))) : NULL;
        for (i = 0; ids && i < n; i++) printf("%d\n", ids[i]);
        return ids ? 0 : fail();
    }
    if (!(s = shape_of(argc > 2 ? argv[2] : "?"))) return fail();
    if (!strcmp(what, "export") && argc > 3) return export_model(s, argv[3]);
    return steps(s, !strcmp(what, "steps"));
}
