/* arm: one run of one arm of the study (PROTOCOL.md), for study.py. Its result is a line of JSON.
 *
 *     arm data=TEXT mode=none|off|auto|A|A2|B|C [key=value]...      keys: `settings` below
 *
 * With cosines=1 it measures instead how much of the displacement of a window of steps is still there in the next. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_WIDTHS    6
#define CURVE_PARTS 6 /* batches of validation for a point of the curve; the final value has n_validation */

typedef struct settings {
    const char *data, *mode;
    int steps, every, vocab, embd, layers, n_validation, cosines, from;
    double ema, seed, window, warmup_steps, horizon, interval, correct_steps, placebo, optimizer;
    double warmup, constant, stable, rate, muon_rate, beta1, beta2, decay, eta, mu, gamma, beta, amplitude, until;
    double trust, bs, ctx, threads;
} settings;

typedef struct run {
    settings set;
    hybrid_runtime *rt;
    hybrid_tokenizer *tokenizer;
    hybrid_model *model;
    hybrid_data *data;
    hybrid_trainer *trainer;
    hybrid_predictor *predictor;
    int32_t *ids, *targets;
    double cpu, wall; /* seconds of steps */
    int64_t spent;    /* steps that were computed, those that a roll-back threw away included */
    hybrid_error error;
} run;

/* Displacements of windows of so many steps, of the weights and of their average. */
typedef struct drift {
    float *anchor, *last; /* (n) */
    int n_windows, n_cosines;
    double sum;
} drift;

static const int widths[N_WIDTHS] = { 1, 5, 10, 20, 50, 100 };

/* Ends the program: the line that study.py reads then is the sentence. */
static void need(run *r, hybrid_result result, const char *what)
{
    if (result == HYBRID_OK) return;
    fprintf(stderr, "arm: %s: %s\n", what, r->error.message);
    exit(1);
}

static void *room(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (p) return p;
    fprintf(stderr, "arm: no memory for %lu bytes\n", (unsigned long)bytes);
    exit(1);
}

static double now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is asked for ------------------------------------------------------------------------------------------- */

static bool set_text(settings *s, const char *key, const char *value)
{
    if (!strcmp(key, "data"))
        s->data = value;
    else if (!strcmp(key, "mode"))
        s->mode = value;
    else
        return false;
    return true;
}

static bool set_whole(settings *s, const char *key, int value)
{
    const struct {
        const char *key;
        int *at;
    } rows[] = {
        { "steps", &s->steps },     { "every", &s->every },   { "vocab", &s->vocab },
        { "embd", &s->embd },       { "layers", &s->layers }, { "validation", &s->n_validation },
        { "cosines", &s->cosines }, { "from", &s->from },
    };
    size_t i;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(key, rows[i].key)) continue;
        *rows[i].at = value;
        return true;
    }
    return false;
}

static bool set_number(settings *s, const char *key, double value)
{
    const struct {
        const char *key;
        double *at;
    } rows[] = {
        { "ema", &s->ema },
        { "seed", &s->seed },
        { "window", &s->window },
        { "warmup_steps", &s->warmup_steps },
        { "horizon", &s->horizon },
        { "interval", &s->interval },
        { "correct_steps", &s->correct_steps },
        { "placebo", &s->placebo },
        { "optimizer", &s->optimizer },
        { "warmup", &s->warmup },
        { "constant", &s->constant },
        { "stable", &s->stable },
        { "rate", &s->rate },
        { "muon_rate", &s->muon_rate },
        { "beta1", &s->beta1 },
        { "beta2", &s->beta2 },
        { "decay", &s->decay },
        { "eta", &s->eta },
        { "mu", &s->mu },
        { "gamma", &s->gamma },
        { "beta", &s->beta },
        { "amplitude", &s->amplitude },
        { "until", &s->until },
        { "trust", &s->trust },
        { "bs", &s->bs },
        { "ctx", &s->ctx },
        { "threads", &s->threads },
    };
    size_t i;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(key, rows[i].key)) continue;
        *rows[i].at = value;
        return true;
    }
    return false;
}

static void read_settings(settings *s, int argc, char **argv)
{
    int i;
    memset(s, 0, sizeof *s);
    s->mode = "none";
    s->steps = s->every = 1000;
    s->vocab = 257;
    s->n_validation = 24;
    s->bs = 16;
    s->ctx = s->embd = 96;
    s->layers = 3;
    s->rate = 6e-3;
    s->beta1 = 0.9;
    s->beta2 = 0.95;
    s->decay = 0.1;
    s->warmup = 100;
    s->threads = 1;
    for (i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value) *value++ = 0;
        if (value &&
            (set_text(s, argv[i], value) || set_whole(s, argv[i], atoi(value)) || set_number(s, argv[i], atof(value))))
            continue;
        fprintf(stderr, "arm: %s is not a setting\n", argv[i]);
        exit(2);
    }
    if (s->data) return;
    fprintf(stderr, "arm: data=TEXT is missing\n");
    exit(2);
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

static void mark(void *user, void *position)
{
    const hybrid_data_position at = hybrid_data_where(((run *)user)->data);
    memcpy(position, &at, sizeof at);
}
static void go_back(void *user, const void *position)
{
    run *r = (run *)user;
    hybrid_data_position at;
    memcpy(&at, position, sizeof at);
    need(r, hybrid_data_seek(r->data, at, &r->error), "going back");
}

static void make_model(run *r, hybrid_source *source)
{
    hybrid_runtime_desc rd;
    hybrid_bpe_desc bd;
    hybrid_model_shape shape;
    memset(&rd, 0, sizeof rd);
    memset(&bd, 0, sizeof bd);
    memset(&shape, 0, sizeof shape);
    rd.n_threads = (int)r->set.threads;
    rd.device = "cpu";
    need(r, hybrid_runtime_create(&rd, &r->rt, &r->error), "runtime");
    bd.texts = source;
    bd.n_texts = 1;
    bd.vocab_size = r->set.vocab;
    need(r, hybrid_bpe_train(r->rt, &bd, &r->tokenizer, NULL, &r->error), "tokenizer");
    shape.tokenizer = r->tokenizer;
    shape.n_layer = r->set.layers;
    shape.n_embd = r->set.embd;
    shape.n_head = r->set.embd / 32;
    shape.n_ctx = (int32_t)r->set.ctx;
    shape.seed = (uint64_t)r->set.seed;
    need(r, hybrid_model_create(r->rt, &shape, &r->model, &r->error), "model");
}

static void make_data(run *r, hybrid_source *source)
{
    const size_t bytes = (size_t)(r->set.bs * r->set.ctx) * sizeof(int32_t);
    hybrid_data_desc dd;
    memset(&dd, 0, sizeof dd);
    dd.sources = source;
    dd.n_sources = 1;
    dd.tokenizer = hybrid_model_tokenizer(r->model);
    dd.n_ctx = (int32_t)r->set.ctx;
    dd.validation = 0.1f;
    dd.seed = (uint64_t)r->set.seed;
    need(r, hybrid_data_create(r->rt, &dd, &r->data, &r->error), "data");
    r->ids = (int32_t *)room(bytes);
    r->targets = (int32_t *)room(bytes);
}

static void make_trainer(run *r)
{
    const settings *s = &r->set;
    hybrid_trainer_desc td;
    memset(&td, 0, sizeof td);
    td.model = r->model;
    td.n_seq = (int32_t)s->bs;
    td.n_ctx = (int32_t)s->ctx;
    td.n_steps = s->steps;
    td.n_warmup = (int64_t)s->warmup;
    td.schedule = s->constant ? HYBRID_SCHEDULE_CONSTANT
                  : s->stable ? HYBRID_SCHEDULE_WSD
                              : HYBRID_SCHEDULE_LINEAR;
    td.n_decay = s->steps - (int64_t)(s->stable * s->steps); /* stable: part of the steps before the rate falls */
    td.optimizer = (hybrid_optimizer)(int)s->optimizer;
    td.rate = (float)s->rate;
    td.muon_rate = (float)s->muon_rate;
    td.beta1 = (float)s->beta1;
    td.beta2 = (float)s->beta2;
    td.decay = (float)s->decay;
    td.ema = (float)s->ema;
    td.clip = 1;
    need(r, hybrid_trainer_create(&td, &r->trainer, &r->error), "trainer");
}

static void make_predictor(run *r)
{
    static const char *const names[] = { "auto", "off", "A", "A2", "B", "C" };
    const settings *s = &r->set;
    hybrid_predict_desc pd;
    int mode = 0;
    if (!strcmp(s->mode, "none")) return;
    while (mode < 6 && strcmp(s->mode, names[mode])) mode++;
    if (mode == 6) {
        fprintf(stderr, "arm: mode=%s: none, off, auto, A, A2, B or C\n", s->mode);
        exit(2);
    }
    memset(&pd, 0, sizeof pd);
    pd.trainer = r->trainer;
    pd.mode = (hybrid_predict_mode)mode;
    pd.placebo = (hybrid_placebo)(int)s->placebo;
    pd.seed = (uint64_t)s->seed;
    pd.window = (int32_t)s->window;
    pd.warmup_steps = (int32_t)s->warmup_steps;
    pd.horizon = (int32_t)s->horizon;
    pd.correction_interval = (int32_t)s->interval;
    pd.correct_steps = (int32_t)s->correct_steps;
    pd.eta = (float)s->eta;
    pd.mu = (float)s->mu;
    pd.gamma = (float)s->gamma;
    pd.beta = (float)s->beta;
    pd.amplitude = (float)s->amplitude;
    pd.predict_until = (float)s->until;
    pd.trust = (float)s->trust;
    pd.mark = mark;
    pd.go_back = go_back;
    pd.user = r;
    need(r, hybrid_predictor_create(&pd, &r->predictor, &r->error), "predictor");
}

/* Mean loss of the first n batches of validation, fewer if there are no more. */
static double validate(run *r, int n)
{
    const int32_t n_seq = (int32_t)r->set.bs;
    hybrid_data_info info;
    hybrid_train_batch batch;
    double sum = 0, loss;
    int i;
    hybrid_data_describe(r->data, &info);
    if ((uint64_t)n * (uint64_t)n_seq > info.n_validation_windows) n = (int)(info.n_validation_windows / n_seq);
    memset(&batch, 0, sizeof batch);
    batch.ids = r->ids;
    batch.targets = r->targets;
    for (i = 0; i < n; i++) {
        need(r, hybrid_data_validation(r->data, (uint64_t)i * n_seq, n_seq, r->ids, r->targets, &r->error), "data");
        need(r, hybrid_trainer_evaluate(r->trainer, &batch, &loss, &r->error), "validation");
        sum += loss;
    }
    return sum / (n > 0 ? n : 1);
}

static void step(run *r, hybrid_train_metrics *m)
{
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
    hybrid_train_batch batch;
    memset(&batch, 0, sizeof batch);
    batch.ids = r->ids;
    batch.targets = r->targets;
    need(r, hybrid_data_next(r->data, (int32_t)r->set.bs, r->ids, r->targets, &r->error), "data");
    need(r, hybrid_trainer_step(r->trainer, &batch, m, &r->error), "step");
    r->cpu += now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    r->wall += now(CLOCK_MONOTONIC) - wall;
    r->spent++;
}

/* ---- gate G1: what persists of displacements --------------------------------------------------------------------- */

static void drift_step(drift *d, const float *w, int64_t n, int width, int64_t at)
{
    double dot = 0, aa = 0, bb = 0;
    int64_t i;
    if (at % width) return;
    for (i = 0; i < n; i++) {
        const double a = d->last[i], b = (double)w[i] - d->anchor[i];
        dot += a * b;
        aa += a * a;
        bb += b * b;
        d->last[i] = (float)b;
        d->anchor[i] = w[i];
    }
    /* the first window measures from nowhere, the second has none before it */
    if (++d->n_windows < 3) return;
    d->sum += dot / sqrt(aa * bb + 1e-300);
    d->n_cosines++;
}

static void cosines(run *r)
{
    const float *w = r->trainer->store.weights;
    const int64_t n = r->trainer->store.n_values;
    float *mean = (float *)room((size_t)n * sizeof *mean);
    drift drifts[2 * N_WIDTHS];
    hybrid_train_metrics m;
    int64_t at, i;
    int k;
    memset(drifts, 0, sizeof drifts);
    for (k = 0; k < 2 * N_WIDTHS; k++) {
        drifts[k].anchor = (float *)room((size_t)n * sizeof *mean);
        drifts[k].last = (float *)room((size_t)n * sizeof *mean);
    }
    memcpy(mean, w, (size_t)n * sizeof *mean);
    for (at = 1; at <= r->set.steps; at++) {
        step(r, &m);
        for (i = 0; i < n; i++) mean[i] += 0.05f * (w[i] - mean[i]);
        for (k = 0; at >= r->set.from && k < 2 * N_WIDTHS; k++)
            drift_step(&drifts[k], k < N_WIDTHS ? w : mean, n, widths[k % N_WIDTHS], at);
    }
    printf("{\"cosines\": [");
    for (k = 0; k < 2 * N_WIDTHS; k++)
        printf("%s{\"of\": \"%s\", \"window\": %d, \"n\": %d, \"cosine\": %.5f}", k ? ", " : "",
               k < N_WIDTHS ? "weights" : "average", widths[k % N_WIDTHS], drifts[k].n_cosines,
               drifts[k].n_cosines ? drifts[k].sum / drifts[k].n_cosines : 0.0);
    printf("]}\n");
    for (k = 0; k < 2 * N_WIDTHS; k++) {
        free(drifts[k].anchor);
        free(drifts[k].last);
    }
    free(mean);
}

/* ---- what comes of it -------------------------------------------------------------------------------------------- */

static void print_predictor(const run *r)
{
    hybrid_predict_metrics p;
    memset(&p, 0, sizeof p);
    if (r->predictor) hybrid_predictor_metrics(r->predictor, &p);
    printf(", \"moves\": %lld, \"rollbacks\": %lld, \"stopped\": %lld, \"gained\": %.4f, \"gained_error\": %.4f",
           (long long)p.n_moves, (long long)p.n_rollbacks, (long long)p.n_stopped, p.gained, p.gained_error);
    printf(", \"cosine\": %.5f, \"hindsight\": %.5f, \"coverage\": %.5f, \"error_windows\": %.6f", p.cosine,
           p.hindsight, p.coverage, p.error_of_windows);
    printf(", \"error_last\": %.6f, \"error_law\": %.6f, \"brier\": %.5f, \"ece\": %.5f, \"predictor\": %.4f",
           p.error_of_last, p.error_of_law, p.brier, p.ece, p.seconds);
}

static void train(run *r)
{
    hybrid_train_metrics m;
    double final, average = 0;
    printf("{\"curve\": \"");
    while (hybrid_trainer_steps(r->trainer) < r->set.steps) {
        step(r, &m);
        if (m.predict.event == HYBRID_PREDICT_WENT_BACK || m.step % r->set.every || m.step == r->set.steps) continue;
        printf("%lld:%.5f;", (long long)m.step, validate(r, CURVE_PARTS));
    }
    final = validate(r, r->set.n_validation);
    printf("%d:%.5f\", \"final\": %.6f", r->set.steps, final, final);
    if (r->set.ema > 0) {
        need(r, hybrid_trainer_swap_ema(r->trainer, &r->error), "average");
        average = validate(r, r->set.n_validation);
    }
    printf(", \"ema\": %.6f, \"spent\": %lld, \"cpu\": %.3f, \"step_wall\": %.3f", average, (long long)r->spent, r->cpu,
           r->wall);
    print_predictor(r);
    printf(", \"weights\": %lld}\n", (long long)r->trainer->store.n_values);
}

int main(int argc, char **argv)
{
    run r;
    hybrid_source source;
    memset(&r, 0, sizeof r);
    memset(&source, 0, sizeof source);
    read_settings(&r.set, argc, argv);
    source.path = r.set.data;
    make_model(&r, &source);
    make_data(&r, &source);
    make_trainer(&r);
    make_predictor(&r);
    if (r.set.cosines)
        cosines(&r);
    else
        train(&r);
    if (r.predictor) hybrid_predictor_destroy(r.predictor);
    hybrid_trainer_destroy(r.trainer);
    hybrid_data_destroy(r.data);
    hybrid_model_destroy(r.model);
    hybrid_tokenizer_destroy(r.tokenizer);
    hybrid_runtime_destroy(r.rt);
    free(r.ids);
    free(r.targets);
    return 0;
}
