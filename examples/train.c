/* train: a language model from nothing: texts in, a GGUF out, which every program that runs GGUF models runs.
 *
 *     cc -O2 train.c -o train -lm                        (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./train shakespeare.txt -o shakespeare.gguf
 *
 * It makes a vocabulary of the texts (byte-level BPE), a model with random weights, and trains it; a line says how far
 * it is, OUT.svg shows the loss in a browser, OUT.jsonl has the numbers, and OUT.ckpt is what it goes on from when it
 * is started again. Ctrl-C saves and ends.
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] =
    "train: a language model from nothing\n"
    "\n"
    "usage: train TEXT... [options]\n"
    "\n"
    "  -o, --out FILE        the model (default model.gguf); FILE.ckpt, FILE.jsonl and FILE.svg lie beside it\n"
    "  -n, --steps N         steps in all (default 1000)\n"
    "      --vocab N         tokens of the vocabulary (default 1024)\n"
    "      --arch NAME       gpt2 (default) or llama\n"
    "      --layers N        layers (default 4)\n"
    "      --width N         width, a multiple of the heads (default 128)\n"
    "      --heads N         heads (default 4)\n"
    "  -c, --context N       tokens of a sequence (default 64)\n"
    "  -b, --batch N         sequences of a batch (default 12)\n"
    "      --accumulate N    batches of a step (default 1)\n"
    "      --rate X          learning rate (default 0.001; it falls along a cosine to a tenth)\n"
    "      --warmup N        steps until the rate is reached (default 100)\n"
    "      --decay X         weight decay (default 0.1)\n"
    "      --validation X    part of the text that is only looked at (default 0.1)\n"
    "      --every N         steps between validations, checkpoints and pictures (default 100)\n"
    "      --type NAME       of the weights in the file: f32, f16, q8_0, q4_k_m... (default f32)\n"
    "      --fresh           begin anew, though there is a checkpoint\n"
    "  -s, --seed N          for other weights and another order (default 0)\n"
    "  -j, --threads N       threads (default: all cores, at most 16)\n";

enum { TEXTS = 256 };
typedef struct options {
    hybrid_source texts[TEXTS];
    size_t n_texts;
    const char *out;
    int vocab;
    hybrid_model_shape shape;
    hybrid_trainer_desc train;
    float validation;
    int every, threads;
    hybrid_mix mix;
    bool fresh;
} options;

/* All that a run has. */
typedef struct run {
    options o;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_data *data;
    hybrid_trainer *trainer;
    hybrid_curve *curve;
    hybrid_data_info info;
    int32_t *ids, *targets;
    char ckpt[1024], jsonl[1024], svg[1024];
} run;

/* What a checkpoint keeps for us: where we are in the data. */
typedef struct kept {
    hybrid_data_position position;
} kept;

static volatile sig_atomic_t stop_wanted;
static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "train: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return 1;
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= 0 && x <= 2e9) return x;
    fprintf(stderr, "train: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

static void defaults(options *o)
{
    memset(o, 0, sizeof *o);
    o->out = "model.gguf";
    o->vocab = 1024;
    o->shape.n_layer = 4;
    o->shape.n_embd = 128;
    o->shape.n_head = 4;
    o->train.n_ctx = 64;
    o->train.n_seq = 12;
    o->train.n_steps = 1000;
    o->train.rate = 1e-3f;
    o->train.n_warmup = 100;
    o->train.decay = 0.1f;
    o->train.clip = 1;
    o->train.beta2 = 0.99f;
    o->train.schedule = HYBRID_SCHEDULE_COSINE;
    o->validation = 0.1f;
    o->every = 100;
    o->mix = HYBRID_MIX_F32;
}

/* True: the option was known, and v is its value. */
static bool option(options *o, const char *a, const char *v)
{
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
    if (IS("-o", "--out"))
        o->out = v;
    else if (IS("-n", "--steps"))
        o->train.n_steps = (int64_t)number(a, v);
    else if (IS("--vocab", "--vocab"))
        o->vocab = (int)number(a, v);
    else if (IS("--arch", "--arch"))
        o->shape.architecture = v;
    else if (IS("--layers", "--layers"))
        o->shape.n_layer = (int32_t)number(a, v);
    else if (IS("--width", "--width"))
        o->shape.n_embd = (int32_t)number(a, v);
    else if (IS("--heads", "--heads"))
        o->shape.n_head = (int32_t)number(a, v);
    else if (IS("-c", "--context"))
        o->train.n_ctx = (int32_t)number(a, v);
    else if (IS("-b", "--batch"))
        o->train.n_seq = (int32_t)number(a, v);
    else if (IS("--accumulate", "--accumulate"))
        o->train.n_batches = (int32_t)number(a, v);
    else if (IS("--rate", "--rate"))
        o->train.rate = (float)number(a, v);
    else if (IS("--warmup", "--warmup"))
        o->train.n_warmup = (int64_t)number(a, v);
    else if (IS("--decay", "--decay"))
        o->train.decay = (float)number(a, v);
    else if (IS("--validation", "--validation"))
        o->validation = (float)number(a, v);
    else if (IS("--every", "--every"))
        o->every = (int)number(a, v);
    else if (IS("-s", "--seed"))
        o->shape.seed = strtoull(v, NULL, 10);
    else if (IS("-j", "--threads"))
        o->threads = (int)number(a, v);
    else if (!IS("--type", "--type") || !hybrid_mix_find(v, &o->mix))
        return false;
#undef IS
    return true;
}

static int parse(int argc, char **argv, options *o)
{
    int i;
    defaults(o);
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (!strcmp(a, "--fresh"))
            o->fresh = true;
        else if (a[0] != '-') {
            if (o->n_texts == TEXTS) return fail("too many texts", NULL);
            o->texts[o->n_texts++].path = a;
        } else {
            if (!v) return fail("this option needs a value, or does not exist (see --help)", a);
            if (!option(o, a, v)) return fail("unknown option or value (see --help)", a);
            i++;
        }
    }
    o->shape.n_ctx = o->train.n_ctx;
    o->train.rate_end = o->train.rate / 10;
    if (o->train.n_warmup > o->train.n_steps / 10) o->train.n_warmup = o->train.n_steps / 10;
    if (o->every < 1) o->every = 1;
    if (o->n_texts) return 0;
    fputs(usage, stderr);
    return 1;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* The model of the checkpoint; or a vocabulary of the texts, and a model with random weights. */
static bool open_model(run *r, bool resumed, hybrid_error *e)
{
    hybrid_tokenizer *tokenizer = NULL;
    hybrid_bpe_desc bpe;
    hybrid_model_desc md;
    hybrid_result result;
    memset(&bpe, 0, sizeof bpe);
    memset(&md, 0, sizeof md);
    if (resumed) {
        md.path = r->ckpt;
        md.trainable = true;
        return !hybrid_model_load(r->rt, &md, &r->model, e);
    }
    bpe.texts = r->o.texts;
    bpe.n_texts = r->o.n_texts;
    bpe.vocab_size = r->o.vocab;
    if (hybrid_bpe_train(r->rt, &bpe, &tokenizer, NULL, e)) return false;
    r->o.shape.tokenizer = tokenizer;
    result = hybrid_model_create(r->rt, &r->o.shape, &r->model, e);
    hybrid_tokenizer_destroy(tokenizer);
    return !result;
}

/* The numbers and the picture; those of a run that is gone on with are read. */
static bool open_curve(run *r, hybrid_error *e)
{
    hybrid_curve_desc cd;
    memset(&cd, 0, sizeof cd);
    cd.title = r->o.out;
    cd.path = r->jsonl;
    cd.steps_done = hybrid_trainer_steps(r->trainer);
    cd.n_steps = r->o.train.n_steps;
    cd.n_tokens = (int64_t)r->o.train.n_ctx * r->o.train.n_seq * r->o.train.n_batches;
    return !hybrid_curve_create(r->rt, &cd, &r->curve, e);
}

static bool open_run(run *r, bool resumed, hybrid_error *e)
{
    hybrid_runtime_desc rd;
    hybrid_data_desc dd;
    size_t n = (size_t)r->o.train.n_ctx * (size_t)r->o.train.n_seq, size;
    const void *user;
    memset(&rd, 0, sizeof rd);
    memset(&dd, 0, sizeof dd);
    rd.n_threads = r->o.threads;
    rd.device = "cpu";
    if (hybrid_runtime_create(&rd, &r->rt, e) || !open_model(r, resumed, e)) return false;
    dd.sources = r->o.texts;
    dd.n_sources = r->o.n_texts;
    dd.tokenizer = hybrid_model_tokenizer(r->model);
    dd.n_ctx = r->o.train.n_ctx;
    dd.validation = r->o.validation;
    dd.seed = r->o.shape.seed;
    r->o.train.model = r->model;
    if (hybrid_data_create(r->rt, &dd, &r->data, e) || hybrid_trainer_create(&r->o.train, &r->trainer, e)) return false;
    hybrid_trainer_describe(r->trainer, &r->o.train);
    hybrid_data_describe(r->data, &r->info);
    n *= (size_t)r->o.train.n_batches;
    r->ids = (int32_t *)malloc(sizeof *r->ids * n);
    r->targets = (int32_t *)malloc(sizeof *r->targets * n);
    if (!r->ids || !r->targets) return fail("out of memory", NULL), e->message[0] = 0, false;
    if (resumed && hybrid_trainer_load(r->trainer, r->ckpt, e)) return false;
    user = hybrid_trainer_user(r->trainer, &size);
    if (user && size == sizeof(kept)) {
        kept k;
        memcpy(&k, user, sizeof k);
        if (hybrid_data_seek(r->data, k.position, e)) return false;
    }
    return open_curve(r, e);
}

/* Mean loss over the validation part, at most some hundred sequences of it; < 0: there is none. */
static double validate(run *r, hybrid_error *e)
{
    const uint64_t n_seq = (uint64_t)r->o.train.n_seq, n = r->info.n_validation_windows;
    const size_t n_ctx = (size_t)r->o.train.n_ctx, room = n_ctx * (size_t)n_seq;
    hybrid_train_batch batch;
    uint64_t first;
    double sum = 0, counted = 0, loss;
    memset(&batch, 0, sizeof batch);
    batch.ids = r->ids;
    batch.targets = r->targets;
    for (first = 0; first < n && first < 20 * n_seq; first += n_seq) {
        const uint64_t rows = n - first < n_seq ? n - first : n_seq;
        size_t i, here = 0;
        if (hybrid_data_validation(r->data, first, (int32_t)rows, r->ids, r->targets, e)) return -1;
        for (i = 0; i < room; i++) {
            if (i >= n_ctx * (size_t)rows) { /* the last batch is not full */
                r->ids[i] = 0;
                r->targets[i] = -1;
            }
            here += r->targets[i] >= 0;
        }
        if (hybrid_trainer_evaluate(r->trainer, &batch, &loss, e)) return -1;
        sum += loss * (double)here;
        counted += (double)here;
    }
    return counted > 0 ? sum / counted : -1;
}

static bool save(run *r, hybrid_error *e)
{
    kept k;
    k.position = hybrid_data_where(r->data);
    return !hybrid_trainer_set_user(r->trainer, &k, sizeof k, e) && !hybrid_trainer_save(r->trainer, r->ckpt, e);
}

static bool step(run *r, hybrid_train_metrics *m, hybrid_error *e)
{
    const int n_batches = (int)r->o.train.n_batches;
    const size_t n = (size_t)r->o.train.n_ctx * (size_t)r->o.train.n_seq;
    hybrid_train_batch *batches = (hybrid_train_batch *)calloc((size_t)n_batches, sizeof *batches);
    bool ok = batches != NULL;
    int i;
    for (i = 0; ok && i < n_batches; i++) {
        batches[i].ids = r->ids + (size_t)i * n;
        batches[i].targets = r->targets + (size_t)i * n;
        ok = !hybrid_data_next(r->data, r->o.train.n_seq, r->ids + (size_t)i * n, r->targets + (size_t)i * n, e);
    }
    ok = ok && !hybrid_trainer_step(r->trainer, batches, m, e);
    free(batches);
    return ok;
}

/* The last checkpoint is as it was: what to do. */
static void after_failure(run *r, hybrid_error *e)
{
    FILE *f = fopen(r->ckpt, "rb");
    fail(e->message, NULL);
    e->message[0] = 0;
    if (e->result == HYBRID_ERROR_NUMERIC) fprintf(stderr, "train: training has blown up; a smaller --rate may help\n");
    if (f)
        fprintf(stderr, "train: %s is the last good checkpoint: start it again, and it goes on from there\n", r->ckpt);
    if (f) fclose(f);
}

static bool train(run *r, hybrid_error *e)
{
    bool ok = true;
    int64_t done = hybrid_trainer_steps(r->trainer);
    while (ok && done < r->o.train.n_steps && !stop_wanted) {
        hybrid_train_metrics m;
        double validation = -1;
        bool look;
        if (!(ok = step(r, &m, e))) break;
        done = m.step;
        look = done % r->o.every == 0 || done == r->o.train.n_steps;
        if (look) validation = validate(r, e);
        ok = !hybrid_curve_add(r->curve, &m, validation < 0 ? NULL : &validation, e);
        fprintf(stderr, "\r%-79s", hybrid_curve_line(r->curve));
        if (look && ok) ok = save(r, e) && !hybrid_curve_draw_path(r->curve, r->svg, e);
    }
    fprintf(stderr, "\n");
    if (ok && stop_wanted && (ok = save(r, e) && !hybrid_curve_draw_path(r->curve, r->svg, e)) == true)
        fprintf(stderr, "stopped: start it again, and it goes on from step %lld\n", (long long)done);
    if (!ok) after_failure(r, e);
    return ok;
}

/* What it has learned to say. */
static void sample(run *r)
{
    hybrid_session_desc sd;
    hybrid_session *session;
    const char *piece;
    memset(&sd, 0, sizeof sd);
    sd.max_tokens = r->o.train.n_ctx - 2;
    sd.sampler.temperature = 0.8f;
    sd.sampler.top_k = 40;
    if (hybrid_session_create(r->model, &sd, &session, NULL)) return;
    printf("\n");
    if (!hybrid_session_complete(session, "\n"))
        while ((piece = hybrid_session_next(session)) != NULL) fputs(piece, stdout);
    printf("\n");
    hybrid_session_destroy(session);
}

int main(int argc, char **argv)
{
    static run r;
    hybrid_model_info info;
    hybrid_error e;
    FILE *f;
    bool resumed, ok;
    if (parse(argc, argv, &r.o)) return 1;
    if (strlen(r.o.out) > 1000) return fail("the name is too long", r.o.out);
    sprintf(r.ckpt, "%s.ckpt", r.o.out);
    sprintf(r.jsonl, "%s.jsonl", r.o.out);
    sprintf(r.svg, "%s.svg", r.o.out);
    e.message[0] = 0;
    resumed = !r.o.fresh && (f = fopen(r.ckpt, "rb")) != NULL && !fclose(f);
    ok = open_run(&r, resumed, &e);
    if (ok) {
        hybrid_model_describe(r.model, &info);
        fprintf(stderr, "%s: %.2f million weights, %d tokens; %.0f tokens of text%s\n", info.architecture,
                (double)info.n_params / 1e6, info.n_vocab, (double)r.info.n_tokens,
                resumed ? "; going on from the checkpoint" : "");
        signal(SIGINT, on_signal);
        ok = train(&r, &e);
        if (ok && !stop_wanted) {
            ok = !hybrid_trainer_export(r.trainer, r.o.out, r.o.mix, &e);
            if (ok) fprintf(stderr, "wrote %s, and %s, which a browser shows\n", r.o.out, r.svg);
            if (ok) sample(&r);
        }
    }
    if (!ok && e.message[0]) fail(e.message, NULL);
    hybrid_curve_destroy(r.curve);
    hybrid_trainer_destroy(r.trainer);
    hybrid_data_destroy(r.data);
    hybrid_model_destroy(r.model);
    hybrid_runtime_destroy(r.rt);
    free(r.ids);
    free(r.targets);
    return !ok;
}
