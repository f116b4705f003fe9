/* training: what train.c and finetune.c share: a run that saves where it is, stops when it is asked to, and goes on
 * from there when it is started again. Of a run with --out OUT:
 *
 *     OUT.ckpt     the checkpoint          OUT.jsonl     its numbers          OUT.svg     its picture, for a browser */
#ifndef TRAINING_H
#define TRAINING_H
#include "hybrid.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    /* of the caller: */
    const char *program, *out;
    hybrid_trainer_desc desc;
    int every;     /* steps between validations, checkpoints and pictures */
    bool fresh;    /* begin anew, though there is a checkpoint */
    bool reformed; /* products have desc.format, whatever the checkpoint says */
    bool predicts; /* by a predictor with these settings */
    hybrid_predict_desc predict;
    /* made by the caller, destroyed here: */
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_adapter *adapter; /* NULL: all weights learn */
    hybrid_data *data;
    /* made here: */
    hybrid_data_info info;
    hybrid_trainer *trainer;
    hybrid_predictor *predictor; /* or NULL */
    hybrid_curve *curve;
    hybrid_train_batch *batches; /* of a step: rows of the three arrays */
    int32_t *ids, *targets;
    float *weights;
    char ckpt[1024], jsonl[1024], svg[1024];
    bool resumed; /* goes on from a checkpoint */
} training;

static volatile sig_atomic_t stop_wanted;
static void training_on_signal(int number)
{
    stop_wanted = 1;
    signal(number, SIG_DFL); /* the second one ends it at once */
}

/* A sentence; false. */
static bool training_fail(const training *t, const char *text, const char *what)
{
    fprintf(stderr, "%s: %s%s%s\n", t->program, text, what ? ": " : "", what ? what : "");
    return false;
}

/* The value of an option that takes a number from least to 2e9; anything else ends the program. */
static double training_number(const training *t, const char *option, const char *text, double least)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= least && x <= 2e9) return x;
    fprintf(stderr, "%s: %s takes a number from %g on, not '%s'\n", t->program, option, least, text);
    exit(1);
}

/* The same for a whole number. */
static int32_t training_count(const training *t, const char *option, const char *text, int least)
{
    const double x = training_number(t, option, text, least);
    if (x - (int32_t)x == 0) return (int32_t)x;
    fprintf(stderr, "%s: %s takes a whole number, not '%s'\n", t->program, option, text);
    exit(1);
}

/* --predict; false: there is no such mode. */
static bool training_mode(training *t, const char *name)
{
    static const char *const names[] = { "auto", "off", "A", "A2", "B", "C", "D" };
    int i;
    for (i = 0; i < 7; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        t->predict.mode = (hybrid_predict_mode)i;
        t->predicts = t->predict.mode != HYBRID_PREDICT_OFF;
        return true;
    }
    return false;
}

/* What there is for --predict-preset and --predict-set. */
static void training_list(void)
{
    const char *name, *meaning;
    bool can_be_set;
    size_t i;
    printf("presets:\n");
    for (i = 0; (name = hybrid_predict_preset_name(i, &meaning)) != NULL; i++) printf("  %-30s%s\n", name, meaning);
    printf("settings:\n");
    for (i = 0; (name = hybrid_predict_key(i, &can_be_set, &meaning)) != NULL; i++)
        if (can_be_set) printf("  %-30s%s\n", name, meaning);
    printf("cannot be set:\n");
    for (i = 0; (name = hybrid_predict_key(i, &can_be_set, &meaning)) != NULL; i++)
        if (!can_be_set) printf("  %-30s%s\n", name, meaning);
}

/* --predict-preset NAME, --predict-set KEY=VALUE, in the order in which they are given. What is wrong ends the program.
 */
static bool training_settings(training *t, bool preset, const char *value)
{
    const char *is = strchr(value, '=');
    char key[64];
    hybrid_error e;
    t->predicts = true;
    if (!strcmp(value, "help")) {
        training_list();
        exit(0);
    }
    e.message[0] = 0;
    if (preset) {
        if (!hybrid_predict_preset(value, &t->predict, &e)) return true;
    } else if (is && (size_t)(is - value) < sizeof key) {
        memcpy(key, value, (size_t)(is - value));
        key[is - value] = 0;
        if (!hybrid_predict_set(&t->predict, key, is + 1, &e)) return true;
    } else
        sprintf(e.message, "--predict-set takes KEY=VALUE, or help");
    training_fail(t, e.message, NULL);
    exit(1);
}

/* --format; false: there is no such format. */
static bool training_format(training *t, const char *name)
{
    static const char *const names[] = { "fp32", "bf16", "fp16" };
    static const hybrid_type formats[] = { HYBRID_TYPE_F32, HYBRID_TYPE_BF16, HYBRID_TYPE_F16 };
    int i;
    for (i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        t->desc.format = formats[i];
        return t->reformed = true;
    }
    return false;
}

/* Can it be opened so? */
static bool training_exists(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (f) fclose(f);
    return f != NULL;
}

/* Would the run write over what it reads? */
static bool training_spares(const training *t, const char *path)
{
    return strcmp(t->out, path) ? true : training_fail(t, "--out would write over what is read", path);
}

/* Names of files; whether there is a checkpoint to go on from. What cannot be written in the end is said now. */
static bool training_begin(training *t)
{
    if (strlen(t->out) > 1000) return training_fail(t, "the name is too long", t->out);
    if (training_exists(t->out, "rb") && !training_exists(t->out, "r+b"))
        return training_fail(t, "cannot be written", t->out);
    sprintf(t->ckpt, "%s.ckpt", t->out);
    sprintf(t->jsonl, "%s.jsonl", t->out);
    sprintf(t->svg, "%s.svg", t->out);
    t->resumed = !t->fresh && training_exists(t->ckpt, "rb");
    return true;
}

/* Whether the number of batches of a step follows what the predictor asks for. */
static bool training_ramps(const training *t)
{
    return t->predicts && (t->predict.tune & t->predict.tune_acts & HYBRID_TUNE_BATCHES) != 0;
}

/* Room for the batches of a step. */
static bool training_room(training *t, hybrid_error *e)
{
    const int32_t most = !training_ramps(t) ? 0 : t->predict.most_batches ? t->predict.most_batches : 64;
    const size_t n_batches = (size_t)(most > t->desc.n_batches ? most : t->desc.n_batches);
    const size_t n = (size_t)t->desc.n_ctx * (size_t)t->desc.n_seq;
    size_t i;
    t->batches = (hybrid_train_batch *)calloc(n_batches, sizeof *t->batches);
    t->ids = (int32_t *)malloc(sizeof *t->ids * n * n_batches);
    t->targets = (int32_t *)malloc(sizeof *t->targets * n * n_batches);
    t->weights = (float *)malloc(sizeof *t->weights * n * n_batches);
    if (!t->batches || !t->ids || !t->targets || !t->weights) {
        snprintf(e->message, sizeof e->message, "out of memory for the batches of a step: smaller ones may fit");
        return false;
    }
    for (i = 0; i < n_batches; i++) {
        t->batches[i].ids = t->ids + i * n;
        t->batches[i].targets = t->targets + i * n;
        t->batches[i].weights = t->weights + i * n;
    }
    return true;
}

/* Where the run is in its data: what a predictor remembers before a move, and goes back to. */
static void training_mark(void *user, void *position)
{
    const hybrid_data_position here = hybrid_data_where(((const training *)user)->data);
    memcpy(position, &here, sizeof here);
}
static void training_go_back(void *user, const void *position)
{
    hybrid_data_position there;
    memcpy(&there, position, sizeof there);
    hybrid_data_seek(((training *)user)->data, there, NULL);
}

static bool training_predict(training *t, hybrid_error *e)
{
    hybrid_predict_desc pd = t->predict;
    pd.trainer = t->trainer;
    pd.mark = training_mark;
    pd.go_back = training_go_back;
    pd.user = t;
    return !hybrid_predictor_create(&pd, &t->predictor, e);
}

/* The checkpoint, and where it was in the data. */
static bool training_resume(training *t, hybrid_error *e)
{
    hybrid_data_position position;
    const void *user;
    size_t size;
    if (hybrid_trainer_load(t->trainer, t->ckpt, e)) return false;
    if (t->reformed && hybrid_trainer_set_format(t->trainer, t->desc.format, e)) return false;
    user = hybrid_trainer_user(t->trainer, &size);
    if (!user || size != sizeof position) return true;
    memcpy(&position, user, sizeof position);
    return !hybrid_data_seek(t->data, position, e);
}

/* The numbers of a run that is gone on with are read; others are written over. */
static bool training_curve(training *t, hybrid_error *e)
{
    hybrid_curve_desc cd;
    memset(&cd, 0, sizeof cd);
    cd.title = t->out;
    cd.path = t->jsonl;
    cd.steps_done = hybrid_trainer_steps(t->trainer);
    cd.n_steps = t->desc.n_steps;
    if (!training_ramps(t)) cd.n_tokens = (int64_t)t->desc.n_ctx * t->desc.n_seq * t->desc.n_batches;
    return !hybrid_curve_create(t->rt, &cd, &t->curve, e);
}

/* The trainer and all else that a run needs, over its model and data. */
static bool training_open(training *t, hybrid_error *e)
{
    t->desc.model = t->model;
    t->desc.adapter = t->adapter;
    hybrid_data_describe(t->data, &t->info);
    if (hybrid_trainer_create(&t->desc, &t->trainer, e)) return false;
    hybrid_trainer_describe(t->trainer, &t->desc);
    return training_room(t, e) && (!t->predicts || training_predict(t, e)) && (!t->resumed || training_resume(t, e)) &&
           training_curve(t, e);
}

/* Mean loss of the weights of now over the validation part, at most 20 batches of it; < 0: there is none. Whatever is
 * saved was looked at before: a run whose loss is twice that of guessing has blown up, and must not be kept in the
 * place of a good one. */
static bool training_validate(training *t, double *mean, hybrid_error *e)
{
    const uint64_t n_seq = (uint64_t)t->desc.n_seq, n = t->info.n_validation_windows;
    const size_t n_ctx = (size_t)t->desc.n_ctx;
    hybrid_train_batch batch;
    hybrid_model_info model;
    uint64_t first;
    double sum = 0, counted = 0, loss;
    memset(&batch, 0, sizeof batch);
    batch.ids = t->ids;
    batch.targets = t->targets;
    hybrid_model_describe(t->model, &model);
    if (!n && hybrid_trainer_evaluate(t->trainer, t->batches, &loss, e)) return false;
    for (first = 0; first < n && first < 20 * n_seq; first += n_seq) {
        size_t i, here = 0;
        batch.n_seq = (int32_t)(n - first < n_seq ? n - first : n_seq);
        if (hybrid_data_validation(t->data, first, batch.n_seq, t->ids, t->targets, e)) return false;
        for (i = 0; i < n_ctx * (size_t)batch.n_seq; i++) here += t->targets[i] >= 0;
        if (hybrid_trainer_evaluate(t->trainer, &batch, &loss, e)) return false;
        sum += loss * (double)here;
        counted += (double)here;
    }
    if (counted > 0) *mean = loss = sum / counted;
    if (loss < 2 * log(model.n_vocab) + 1) return true; /* false of NaN */
    e->result = HYBRID_ERROR_NUMERIC;
    snprintf(e->message, sizeof e->message, "after step %lld the loss is %g: that of a model that guesses is %.1f",
             (long long)hybrid_trainer_steps(t->trainer), loss, log(model.n_vocab));
    return false;
}

static bool training_save(training *t, hybrid_error *e)
{
    const hybrid_data_position position = hybrid_data_where(t->data);
    return !hybrid_trainer_set_user(t->trainer, &position, sizeof position, e) &&
           !hybrid_trainer_save(t->trainer, t->ckpt, e) && !hybrid_curve_draw_path(t->curve, t->svg, e);
}

/* How far the run is, and what prediction has gained. */
static void training_show(const training *t)
{
    hybrid_predict_metrics m;
    char gained[40] = "", line[320];
    int n;
    hybrid_predictor_metrics(t->predictor, &m);
    if (m.n_moves) snprintf(gained, sizeof gained, "  %.1f steps ahead", m.gained);
    n = snprintf(line, sizeof line, "%s%s", hybrid_curve_line(t->curve), gained);
    fprintf(stderr, "\r%-*s", n < 79 ? 79 : 119, line);
}

/* As many batches as the predictor asks for, from the next step on. */
static bool training_ramp(training *t, hybrid_error *e)
{
    hybrid_predict_metrics m;
    if (!training_ramps(t)) return true;
    hybrid_predictor_metrics(t->predictor, &m);
    if (m.batches < 1 || m.batches == t->desc.n_batches) return true;
    t->desc.n_batches = m.batches;
    return !hybrid_trainer_set_batches(t->trainer, m.batches, e);
}

/* One step, and what is shown of it; *done: steps so far. A predictor may have gone back to fewer. */
static bool training_step(training *t, int64_t *done, hybrid_error *e)
{
    hybrid_train_metrics m;
    double validation = -1;
    bool look;
    if (!training_ramp(t, e)) return false;
    if (hybrid_data_next_weighted(t->data, t->desc.n_seq * t->desc.n_batches, t->ids, t->targets, t->weights, e) ||
        hybrid_trainer_step(t->trainer, t->batches, &m, e))
        return false;
    *done = m.step;
    look = m.predict.event != HYBRID_PREDICT_WENT_BACK && m.predict.event != HYBRID_PREDICT_AUDITED &&
           (m.step == 1 || m.step % t->every == 0 || m.step == t->desc.n_steps);
    if (look && !training_validate(t, &validation, e)) return false;
    if (hybrid_curve_add(t->curve, &m, validation < 0 ? NULL : &validation, e)) return false;
    training_show(t);
    return !look || training_save(t, e);
}

/* The last checkpoint is as it was: what to do. */
static void training_failed(training *t, hybrid_error *e)
{
    training_fail(t, e->message, NULL);
    e->message[0] = 0;
    if (e->result == HYBRID_ERROR_NUMERIC)
        fprintf(stderr, "%s: training has blown up; a smaller --rate may help\n", t->program);
    if (training_exists(t->ckpt, "rb"))
        fprintf(stderr, "%s: %s is the last good checkpoint: start it again, and it goes on from there\n", t->program,
                t->ckpt);
}

/* Steps until all are done, or until Ctrl-C: then stop_wanted is set, and what was learned is saved. */
static bool training_run(training *t, hybrid_error *e)
{
    int64_t done = hybrid_trainer_steps(t->trainer);
    bool ok = true;
    signal(SIGINT, training_on_signal);
    while (ok && done < t->desc.n_steps && !stop_wanted) ok = training_step(t, &done, e);
    fprintf(stderr, "\n");
    if (ok && t->predictor) fprintf(stderr, "%s\n", hybrid_predictor_verdict(t->predictor));
    if (ok && stop_wanted && (ok = training_save(t, e)) == true)
        fprintf(stderr, "stopped: start it again, and it goes on from step %lld\n", (long long)done);
    if (!ok) training_failed(t, e);
    return ok;
}

static void training_close(training *t)
{
    hybrid_curve_destroy(t->curve);
    hybrid_predictor_destroy(t->predictor);
    hybrid_trainer_destroy(t->trainer);
    hybrid_data_destroy(t->data);
    hybrid_adapter_destroy(t->adapter);
    hybrid_model_destroy(t->model);
    hybrid_runtime_destroy(t->rt);
    free(t->batches);
    free(t->ids);
    free(t->targets);
    free(t->weights);
}
#endif
