/* finetune: a model learns from conversations: a GGUF and JSON Lines in, a GGUF out, which every program runs.
 *
 *     cc -O2 finetune.c -o finetune -lm                  (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./finetune model.gguf talks.jsonl -o mine.gguf
 *
 * A line of talks.jsonl: {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}.
 * The model's own template makes texts of them, and only what the assistant says is learned. OUT.svg shows the loss in
 * a browser, OUT.jsonl has the numbers, and OUT.ckpt is what it goes on from when it is started again. Ctrl-C saves and
 * ends.
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] =
    "finetune: a model learns from conversations\n"
    "\n"
    "usage: finetune MODEL.gguf CONVERSATIONS.jsonl... [options]\n"
    "\n"
    "  -o, --out FILE        the model (default finetuned.gguf); FILE.ckpt, FILE.jsonl and FILE.svg lie beside it\n"
    "      --lora RANK       an adapter learns, over the weights as the file has them: a fraction of the memory, and "
    "the\n"
    "                        file is the adapter (llama.cpp's form)\n"
    "      --alpha X         of the adapter: what it adds is multiplied by X / RANK (default: twice the rank)\n"
    "      --merge           write the whole model with the adapter in it\n"
    "      --text            the files are plain texts\n"
    "      --epochs X        how often all of it is read (default 2)\n"
    "  -n, --steps N         steps in all, instead\n"
    "  -c, --context N       tokens of a window; longer talks are cut (default: the model's, at most 256)\n"
    "  -b, --batch N         windows of a batch (default 4)\n"
    "      --accumulate N    batches of a step (default 1)\n"
    "      --rate X          learning rate (default 0.00002, adapters 0.0002; it falls to a tenth)\n"
    "      --decay X         weight decay (default 0)\n"
    "      --validation X    part of the conversations that is only looked at (default 0.1)\n"
    "      --every N         steps between validations, checkpoints and pictures (default 20)\n"
    "      --recompute N     less memory, more time: keep only every Nth layer (default 0: all)\n"
    "      --type NAME       of the weights in the file: f32, f16, q8_0, q4_k_m... (default q8_0)\n"
    "      --skip-bad        leave out lines that cannot be used (default: stop at the first)\n"
    "      --fresh           begin anew, though there is a checkpoint\n"
    "  -s, --seed N          for another order (default 0)\n"
    "  -j, --threads N       threads (default: all cores, at most 16)\n"
    "\n"
    "Memory: 16 bytes a weight (with --lora: the file, and 16 bytes a weight of the adapter), and what the windows of "
    "a\n"
    "batch need.\n";

enum { TEXTS = 256 };
typedef struct options {
    hybrid_source texts[TEXTS];
    size_t n_texts;
    const char *model, *out;
    hybrid_data_kind kind;
    hybrid_trainer_desc train;
    hybrid_adapter_desc lora; /* rank 0: all weights learn */
    double epochs;
    float validation;
    int every, threads;
    uint64_t seed;
    hybrid_mix mix;
    bool fresh, skip_bad, merge;
} options;

/* For models that have none: the form in which hybrid_session talks with them. */
static const char plain[] =
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos_token }}"
    "{% elif m.role == 'user' %}{{ 'User: ' + m.content + '\\n' }}{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% "
    "endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

/* All that a run has. */
typedef struct run {
    options o;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_adapter *adapter; /* NULL: all weights learn */
    hybrid_template *tmpl;   /* plain */
    hybrid_data *data;
    hybrid_trainer *trainer;
    hybrid_curve *curve;
    hybrid_data_info info;
    hybrid_train_batch *batches;
    int32_t *ids, *targets;
    float *weights;
    char ckpt[1024], jsonl[1024], svg[1024];
} run;

static volatile sig_atomic_t stop_wanted;
static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "finetune: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return 1;
}

static bool exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= 0 && x <= 2e9) return x;
    fprintf(stderr, "finetune: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

static void defaults(options *o)
{
    memset(o, 0, sizeof *o);
    o->out = "finetuned.gguf";
    o->kind = HYBRID_DATA_CHAT;
    o->epochs = 2;
    o->train.n_seq = 4;
    o->train.beta2 = 0.999f;
    o->train.clip = 1;
    o->train.schedule = HYBRID_SCHEDULE_COSINE;
    o->validation = 0.1f;
    o->every = 20;
    o->mix = HYBRID_MIX_Q8_0;
}

/* True: the option was known, and v is its value. */
static bool option(options *o, const char *a, const char *v)
{
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
    if (IS("-o", "--out"))
        o->out = v;
    else if (IS("--epochs", "--epochs"))
        o->epochs = number(a, v);
    else if (IS("-n", "--steps"))
        o->train.n_steps = (int64_t)number(a, v);
    else if (IS("-c", "--context"))
        o->train.n_ctx = (int32_t)number(a, v);
    else if (IS("-b", "--batch"))
        o->train.n_seq = (int32_t)number(a, v);
    else if (IS("--accumulate", "--accumulate"))
        o->train.n_batches = (int32_t)number(a, v);
    else if (IS("--rate", "--rate"))
        o->train.rate = (float)number(a, v);
    else if (IS("--decay", "--decay"))
        o->train.decay = (float)number(a, v);
    else if (IS("--validation", "--validation"))
        o->validation = (float)number(a, v);
    else if (IS("--every", "--every"))
        o->every = (int)number(a, v);
    else if (IS("--recompute", "--recompute"))
        o->train.recompute_every = (int32_t)number(a, v);
    else if (IS("--lora", "--lora"))
        o->lora.rank = (int32_t)number(a, v);
    else if (IS("--alpha", "--alpha"))
        o->lora.alpha = (float)number(a, v);
    else if (IS("-s", "--seed"))
        o->seed = strtoull(v, NULL, 10);
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
        else if (!strcmp(a, "--text"))
            o->kind = HYBRID_DATA_TEXT;
        else if (!strcmp(a, "--merge"))
            o->merge = true;
        else if (!strcmp(a, "--skip-bad"))
            o->skip_bad = true;
        else if (a[0] != '-' && !o->model)
            o->model = a;
        else if (a[0] != '-') {
            if (o->n_texts == TEXTS) return fail("too many files", NULL);
            o->texts[o->n_texts++].path = a;
        } else {
            if (!v) return fail("this option needs a value, or does not exist (see --help)", a);
            if (!option(o, a, v)) return fail("unknown option or value (see --help)", a);
            i++;
        }
    }
    if (o->every < 1) o->every = 1;
    if (!(o->train.rate > 0)) o->train.rate = o->lora.rank ? 2e-4f : 2e-5f;
    if (!(o->lora.alpha > 0)) o->lora.alpha = 2 * (float)o->lora.rank;
    if (o->n_texts) return 0;
    fputs(usage, stderr);
    return 1;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* A line that cannot be used is left out, and named; true for that. */
static bool bad_line(void *user, size_t source, uint64_t line, const char *why)
{
    const run *r = (const run *)user;
    if (r->o.skip_bad)
        fprintf(stderr, "finetune: %s, line %llu: %s\n", r->o.texts[source].path, (unsigned long long)line, why);
    return r->o.skip_bad;
}

/* The weights that learn: the model's own, or those of an adapter of all its matrices. */
static bool open_model(run *r, hybrid_error *e)
{
    static const char *const all[] = { "all" };
    hybrid_model_desc md;
    memset(&md, 0, sizeof md);
    md.path = r->o.model;
    md.trainable = !r->o.lora.rank;
    r->o.lora.targets = all;
    r->o.lora.n_targets = 1;
    r->o.lora.seed = r->o.seed;
    return !hybrid_model_load(r->rt, &md, &r->model, e) &&
           (md.trainable || !hybrid_adapter_create(r->model, &r->o.lora, &r->adapter, e));
}

static bool open_data(run *r, hybrid_error *e)
{
    hybrid_template_desc td;
    hybrid_data_desc dd;
    hybrid_model_info info;
    hybrid_model_describe(r->model, &info);
    if (!r->o.train.n_ctx) r->o.train.n_ctx = info.n_ctx_train < 256 ? info.n_ctx_train : 256;
    memset(&td, 0, sizeof td);
    memset(&dd, 0, sizeof dd);
    td.text = plain;
    if (!hybrid_model_template(r->model) && hybrid_template_create(r->rt, &td, &r->tmpl, e)) return false;
    dd.kind = r->o.kind;
    dd.sources = r->o.texts;
    dd.n_sources = r->o.n_texts;
    dd.tokenizer = hybrid_model_tokenizer(r->model);
    dd.tmpl = r->tmpl ? r->tmpl : hybrid_model_template(r->model);
    dd.n_ctx = r->o.train.n_ctx;
    dd.validation = r->o.validation;
    dd.seed = r->o.seed;
    dd.bad_line = bad_line;
    dd.user = r;
    if (hybrid_data_create(r->rt, &dd, &r->data, e)) return false;
    hybrid_data_describe(r->data, &r->info);
    return true;
}

/* The schedule follows from how much there is to read. */
static bool open_trainer(run *r, hybrid_error *e)
{
    hybrid_trainer_desc *t = &r->o.train;
    const double windows = (double)t->n_seq * (t->n_batches ? t->n_batches : 1);
    if (!t->n_steps)
        t->n_steps = (int64_t)(r->o.epochs * (double)r->info.n_windows / (windows > 0 ? windows : 1) + 0.5);
    if (t->n_steps < 1) t->n_steps = 1;
    t->n_warmup = t->n_steps / 10;
    t->rate_end = t->rate / 10;
    t->model = r->model;
    t->adapter = r->adapter;
    if (hybrid_trainer_create(t, &r->trainer, e)) return false;
    hybrid_trainer_describe(r->trainer, t);
    return true;
}

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

/* Room for the batches of a step. */
static bool open_batches(run *r)
{
    const size_t n_batches = (size_t)r->o.train.n_batches;
    const size_t n = (size_t)r->o.train.n_ctx * (size_t)r->o.train.n_seq;
    size_t i;
    r->batches = (hybrid_train_batch *)calloc(n_batches, sizeof *r->batches);
    r->ids = (int32_t *)malloc(sizeof *r->ids * n * n_batches);
    r->targets = (int32_t *)malloc(sizeof *r->targets * n * n_batches);
    r->weights = (float *)malloc(sizeof *r->weights * n * n_batches);
    if (!r->batches || !r->ids || !r->targets || !r->weights) return !fail("out of memory", NULL);
    for (i = 0; i < n_batches; i++) {
        r->batches[i].ids = r->ids + i * n;
        r->batches[i].targets = r->targets + i * n;
        r->batches[i].weights = r->weights + i * n;
    }
    return true;
}

/* Where the checkpoint was in the data. */
static bool go_on(run *r, hybrid_error *e)
{
    hybrid_data_position position;
    const void *user;
    size_t size;
    if (hybrid_trainer_load(r->trainer, r->ckpt, e)) return false;
    user = hybrid_trainer_user(r->trainer, &size);
    if (!user || size != sizeof position) return true;
    memcpy(&position, user, sizeof position);
    return !hybrid_data_seek(r->data, position, e);
}

static bool open_run(run *r, bool resumed, hybrid_error *e)
{
    hybrid_runtime_desc rd;
    memset(&rd, 0, sizeof rd);
    rd.n_threads = r->o.threads;
    rd.device = "cpu";
    return !hybrid_runtime_create(&rd, &r->rt, e) && open_model(r, e) && open_data(r, e) && open_trainer(r, e) &&
           open_batches(r) && (!resumed || go_on(r, e)) && open_curve(r, e);
}

/* Mean loss over the validation part, at most some hundred windows of it; < 0: there is none. */
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

/* What was learned, for others. */
static bool write_out(run *r, hybrid_error *e)
{
    if (!r->adapter) return !hybrid_trainer_export(r->trainer, r->o.out, r->o.mix, e);
    if (!r->o.merge) return !hybrid_adapter_save(r->adapter, r->o.out, HYBRID_TYPE_F32, e);
    return !hybrid_adapter_merge(r->model, &r->adapter, NULL, 1, r->o.out, r->o.mix, e);
}

static bool save(run *r, hybrid_error *e)
{
    const hybrid_data_position position = hybrid_data_where(r->data);
    if (hybrid_curve_draw_path(r->curve, r->svg, e) ||
        hybrid_trainer_set_user(r->trainer, &position, sizeof position, e))
        return false;
    if (!hybrid_trainer_save(r->trainer, r->ckpt, e)) return true;
    return r->adapter && e->result == HYBRID_ERROR_UNSUPPORTED; /* adapters may have no checkpoints */
}

static bool step(run *r, hybrid_train_metrics *m, hybrid_error *e)
{
    const int32_t windows = r->o.train.n_seq * r->o.train.n_batches;
    return !hybrid_data_next_weighted(r->data, windows, r->ids, r->targets, r->weights, e) &&
           !hybrid_trainer_step(r->trainer, r->batches, m, e);
}

/* The last checkpoint is as it was: what to do. */
static void after_failure(run *r, hybrid_error *e)
{
    fail(e->message, NULL);
    if (e->result == HYBRID_ERROR_NUMERIC)
        fprintf(stderr, "finetune: training has blown up; a smaller --rate may help\n");
    if (exists(r->ckpt))
        fprintf(stderr, "finetune: %s is the last good checkpoint: start it again, and it goes on from there\n",
                r->ckpt);
    e->message[0] = 0;
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
        look = done % r->o.every == 0 || done == r->o.train.n_steps || done == 1;
        if (look) validation = validate(r, e);
        ok = !hybrid_curve_add(r->curve, &m, validation < 0 ? NULL : &validation, e);
        fprintf(stderr, "\r%-79s", hybrid_curve_line(r->curve));
        if (look && ok) ok = save(r, e);
    }
    fprintf(stderr, "\n");
    if (ok && stop_wanted) ok = save(r, e);
    if (ok && stop_wanted && exists(r->ckpt))
        fprintf(stderr, "stopped: start it again, and it goes on from step %lld\n", (long long)done);
    else if (ok && stop_wanted && write_out(r, e))
        fprintf(stderr, "stopped: %s is what was learned in %lld steps\n", r->o.out, (long long)done);
    if (!ok) after_failure(r, e);
    return ok;
}

static void close_run(run *r)
{
    hybrid_curve_destroy(r->curve);
    hybrid_trainer_destroy(r->trainer);
    hybrid_data_destroy(r->data);
    hybrid_template_destroy(r->tmpl);
    hybrid_adapter_destroy(r->adapter);
    hybrid_model_destroy(r->model);
    hybrid_runtime_destroy(r->rt);
    free(r->batches);
    free(r->ids);
    free(r->targets);
    free(r->weights);
}

int main(int argc, char **argv)
{
    static run r;
    hybrid_model_info info;
    hybrid_error e;
    bool resumed, ok;
    if (parse(argc, argv, &r.o)) return 1;
    if (strlen(r.o.out) > 1000) return fail("the name is too long", r.o.out);
    sprintf(r.ckpt, "%s.ckpt", r.o.out);
    sprintf(r.jsonl, "%s.jsonl", r.o.out);
    sprintf(r.svg, "%s.svg", r.o.out);
    e.message[0] = 0;
    resumed = !r.o.fresh && exists(r.ckpt);
    ok = open_run(&r, resumed, &e);
    if (ok) {
        hybrid_model_describe(r.model, &info);
        fprintf(stderr, "%s: %.2f million weights; %.0f %s, %.0f tokens to learn; %lld steps%s\n", info.name,
                (double)info.n_params / 1e6, (double)r.info.n_documents,
                r.o.kind == HYBRID_DATA_CHAT ? "conversations" : "documents", (double)r.info.n_targets,
                (long long)r.o.train.n_steps, resumed ? "; going on from the checkpoint" : "");
        signal(SIGINT, on_signal);
        ok = train(&r, &e);
        if (ok && !stop_wanted) {
            ok = write_out(&r, &e);
            if (ok) fprintf(stderr, "wrote %s, and %s, which a browser shows\n", r.o.out, r.svg);
        }
    }
    if (!ok && e.message[0]) fail(e.message, NULL);
    close_run(&r);
    return !ok;
}
