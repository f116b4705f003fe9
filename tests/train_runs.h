/* train_runs: whole runs that PyTorch does as well, from the same weights on the same batches (oracle/make_run.py). */
#ifndef TRAIN_RUNS_H
#define TRAIN_RUNS_H
#include "oracle/run.h"

/* The trainer's losses, batch by batch, beside those of a file. A second number of a line is PyTorch's loss in double
 * precision: what its floats have lost by then. Ours may have lost as much, and so be twice as far from its floats. */
static int run_beside(hybrid_trainer *t, const char *losses, double within, const run_shape *s, const int32_t *given)
{
    static int32_t ids[256], targets[256];
    const char *at;
    char *end;
    uint64_t state = 1;
    double most = 0, lost = 0;
    int step;
    for (step = 0, at = losses; t && step < (s ? s->n_steps : 50); step++, at = end) {
        const double theirs = strtod(at, &end), exact = end != at && *end == ' ' ? strtod(end, &end) : theirs;
        hybrid_train_metrics m;
        hybrid_train_batch batch;
        hybrid_error e = { HYBRID_OK, 0, "" };
        if (end == at) break;
        memset(&batch, 0, sizeof batch);
        if (s) run_batch(s, &state, ids, targets);
        batch.ids = s ? ids : given + step * 128;
        batch.targets = s ? targets : batch.ids + 1;
        CHECK(!hybrid_trainer_step(t, &batch, &m, &e), "%s", e.message);
        lost = fabs(exact - theirs) > lost ? fabs(exact - theirs) : lost;
        CHECK(fabs(m.loss - theirs) < within + 2 * lost, "step %d: %.7f, PyTorch has %.7f", step + 1, m.loss, theirs);
        CHECK(fabs(m.loss - exact) < within + lost, "step %d: %.7f, in double %.7f, and PyTorch is %.1e from that",
              step + 1, m.loss, exact, lost);
        most = fabs(m.loss - theirs) > most ? fabs(m.loss - theirs) : most;
    }
    printf("  %s: %d losses, at most %.1e from PyTorch's, which lost %.1e\n", check_name, step, most, lost);
    return step;
}

/* The miniature is equal to the last digits of a float, the large one to some 1e-5, and later to what is lost by
 * floats. */
static void test_run(const run_shape *s, double within)
{
    char path[80], *text;
    hybrid_trainer_desc d;
    hybrid_trainer *t = NULL;
    hybrid_error e = { HYBRID_OK, 0, "" };
    TEST(s->name);
    snprintf(path, sizeof path, "tests/oracle/data/run-%s.txt", s->name);
    run_desc(s, &d);
    text = read_file(path, NULL);
    d.model = text ? run_model(NULL, s, &e) : NULL;
    CHECK(text && d.model && !hybrid_trainer_create(&d, &t, &e), "%s: %s", path, e.message);
    CHECK(text && run_beside(t, text, within, s, NULL) >= 20, "too few losses");
    free(text);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(d.model);
}

/* A full fine-tuning of SmolLM2, whose weights are what gguf-py makes of the file's blocks, too. */
static void test_tuning(void)
{
    static int32_t ids[16384];
    const char *models = getenv("HYBRID_MODELS");
    char path[1024], *text = read_file(data_path("corpus/tinyshakespeare.txt"), NULL);
    char *losses = read_file("tests/oracle/data/run-smollm2.txt", NULL);
    hybrid_model_desc md;
    hybrid_trainer_desc d;
    hybrid_model *m = NULL;
    hybrid_trainer *t = NULL;
    hybrid_error e = { HYBRID_OK, 0, "" };
    size_t n = 0;
    TEST("SmolLM2");
    snprintf(path, sizeof path, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", models ? models : "models");
    memset(&md, 0, sizeof md);
    md.path = path;
    md.trainable = true;
    run_tune_desc(&d);
    if (!text || !losses || hybrid_model_load(NULL, &md, &m, &e))
        SKIP("SmolLM2, or tinyshakespeare.txt, is not here: %s", e.message);
    else {
        d.model = m;
        CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
        CHECK(!hybrid_tokenize(hybrid_model_tokenizer(m), text, 32000, 0, ids, 16384, &n, &e), "%s", e.message);
        CHECK(n > 50 * 128 && run_beside(t, losses, 1e-3, NULL, ids) == 50, "too few losses, or %d tokens", (int)n);
    }
    free(text);
    free(losses);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(m);
}
#endif
