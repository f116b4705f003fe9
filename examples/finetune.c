/* finetune: a model learns from conversations: a GGUF and JSON Lines in, a GGUF out, which every program runs.
 *
 *     cc -O2 finetune.c -o finetune -lm                  (hybrid.h and training.h beside it; on Windows
 *                                                       windows_utf8.h, too)
 *     ./finetune model.gguf talks.jsonl -o mine.gguf
 *
 * A line of talks.jsonl: {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}.
 * The model's own template makes texts of them, and only what the assistant says is learned. OUT.svg shows the loss in
 * a browser, OUT.jsonl has the numbers, and OUT.ckpt is what it goes on from when it is started again. Ctrl-C saves and
 * ends.
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include "training.h"
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
    "      --format NAME     of what products multiply: fp32 (default), bf16 or fp16, as tensor cores do\n"
    "      --predict MODE    move weights along where they go anyway: off (default), auto, A, A2, B or C;\n"
    "                        D: half of the batches of --accumulate go back (--predict-set fraction=X)\n"
    "      --predict-preset NAME    settings that go together; help: which\n"
    "      --predict-set KEY=VALUE  a setting of the predictor; help: which. May be repeated\n"
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
    const char *model;
    hybrid_data_kind kind;
    hybrid_adapter_desc lora; /* rank 0: all weights learn */
    hybrid_template *tmpl;    /* plain, for a model that has none */
    double epochs;
    float validation;
    int threads;
    uint64_t seed;
    hybrid_mix mix;
    bool skip_bad, merge;
} options;

/* For models that have none: the form in which hybrid_session talks with them. */
static const char plain[] =
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos_token }}"
    "{% elif m.role == 'user' %}{{ 'User: ' + m.content + '\\n' }}{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% "
    "endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

static void defaults(options *o, training *t)
{
    memset(o, 0, sizeof *o);
    memset(t, 0, sizeof *t);
    t->program = "finetune";
    t->out = "finetuned.gguf";
    t->every = 20;
    t->desc.n_seq = 4;
    t->desc.n_batches = 1;
    t->desc.beta2 = 0.999f;
    t->desc.clip = 1;
    t->desc.schedule = HYBRID_SCHEDULE_COSINE;
    o->kind = HYBRID_DATA_CHAT;
    o->epochs = 2;
    o->validation = 0.1f;
    o->mix = HYBRID_MIX_Q8_0;
}

/* True: the option was known, and v is its value. */
static bool option(options *o, training *t, const char *a, const char *v)
{
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
    if (IS("-o", "--out"))
        t->out = v;
    else if (IS("--epochs", "--epochs"))
        o->epochs = training_number(t, a, v, 0);
    else if (IS("-n", "--steps"))
        t->desc.n_steps = training_count(t, a, v, 1);
    else if (IS("-c", "--context"))
        t->desc.n_ctx = training_count(t, a, v, 1);
    else if (IS("-b", "--batch"))
        t->desc.n_seq = training_count(t, a, v, 1);
    else if (IS("--accumulate", "--accumulate"))
        t->desc.n_batches = training_count(t, a, v, 1);
    else if (IS("--rate", "--rate"))
        t->desc.rate = (float)training_number(t, a, v, 1e-9);
    else if (IS("--predict", "--predict"))
        return training_mode(t, v);
    else if (IS("--predict-preset", "--predict-set"))
        return training_settings(t, !strcmp(a, "--predict-preset"), v);
    else if (IS("--format", "--format"))
        return training_format(t, v);
    else if (IS("--decay", "--decay"))
        t->desc.decay = (float)training_number(t, a, v, 0);
    else if (IS("--validation", "--validation"))
        o->validation = (float)training_number(t, a, v, 0);
    else if (IS("--every", "--every"))
        t->every = training_count(t, a, v, 1);
    else if (IS("--recompute", "--recompute"))
        t->desc.recompute_every = training_count(t, a, v, 0);
    else if (IS("--lora", "--lora"))
        o->lora.rank = training_count(t, a, v, 1);
    else if (IS("--alpha", "--alpha"))
        o->lora.alpha = (float)training_number(t, a, v, 1e-9);
    else if (IS("-s", "--seed"))
        o->seed = (uint64_t)training_count(t, a, v, 0);
    else if (IS("-j", "--threads"))
        o->threads = training_count(t, a, v, 0);
    else if (!IS("--type", "--type") || !hybrid_mix_find(v, &o->mix))
        return false;
#undef IS
    return true;
}

static bool parse(int argc, char **argv, options *o, training *t)
{
    int i;
    defaults(o, t);
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (!strcmp(a, "--fresh"))
            t->fresh = true;
        else if (!strcmp(a, "--text"))
            o->kind = HYBRID_DATA_TEXT;
        else if (!strcmp(a, "--merge"))
            o->merge = true;
        else if (!strcmp(a, "--skip-bad"))
            o->skip_bad = true;
        else if (a[0] != '-' && !o->model)
            o->model = a;
        else if (a[0] != '-') {
            if (o->n_texts == TEXTS) return training_fail(t, "too many files", NULL);
            o->texts[o->n_texts++].path = a;
        } else {
            if (!v) return training_fail(t, "this option needs a value, or does not exist (see --help)", a);
            if (!option(o, t, a, v)) return training_fail(t, "unknown option or value (see --help)", a);
            i++;
        }
    }
    if (!(t->desc.rate > 0)) t->desc.rate = o->lora.rank ? 2e-4f : 2e-5f;
    if ((o->merge || o->lora.alpha > 0) && !o->lora.rank)
        return training_fail(t, "--merge and --alpha are about an adapter", "give --lora, too");
    if (!(o->lora.alpha > 0)) o->lora.alpha = 2 * (float)o->lora.rank;
    for (i = 0; i < (int)o->n_texts; i++)
        if (!training_spares(t, o->texts[i].path)) return false;
    if (o->n_texts) return training_spares(t, o->model);
    fputs(usage, stderr);
    return false;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* A line that cannot be used is left out, and named; true for that. */
static bool bad_line(void *user, size_t source, uint64_t line, const char *why)
{
    const options *o = (const options *)user;
    if (o->skip_bad)
        fprintf(stderr, "finetune: %s, line %llu: %s\n", o->texts[source].path, (unsigned long long)line, why);
    return o->skip_bad;
}

/* The weights that learn: the model's own, or those of an adapter of all its matrices. */
static bool open_model(options *o, training *t, hybrid_error *e)
{
    static const char *const all[] = { "all" };
    hybrid_model_desc md;
    memset(&md, 0, sizeof md);
    md.path = o->model;
    md.trainable = !o->lora.rank;
    o->lora.targets = all;
    o->lora.n_targets = 1;
    o->lora.seed = o->seed;
    return !hybrid_model_load(t->rt, &md, &t->model, e) &&
           (md.trainable || !hybrid_adapter_create(t->model, &o->lora, &t->adapter, e));
}

static bool open_data(options *o, training *t, hybrid_error *e)
{
    hybrid_template_desc td;
    hybrid_data_desc dd;
    hybrid_model_info info;
    hybrid_model_describe(t->model, &info);
    if (!t->desc.n_ctx) t->desc.n_ctx = info.n_ctx_train < 256 ? info.n_ctx_train : 256;
    memset(&td, 0, sizeof td);
    memset(&dd, 0, sizeof dd);
    td.text = plain;
    if (!hybrid_model_template(t->model) && hybrid_template_create(t->rt, &td, &o->tmpl, e)) return false;
    dd.kind = o->kind;
    dd.sources = o->texts;
    dd.n_sources = o->n_texts;
    dd.tokenizer = hybrid_model_tokenizer(t->model);
    dd.tmpl = o->tmpl ? o->tmpl : hybrid_model_template(t->model);
    dd.n_ctx = t->desc.n_ctx;
    dd.validation = o->validation;
    dd.seed = o->seed;
    dd.bad_line = bad_line;
    dd.user = o;
    return !hybrid_data_create(t->rt, &dd, &t->data, e);
}

/* The schedule follows from how much there is to read. */
static void schedule(const options *o, training *t)
{
    hybrid_trainer_desc *d = &t->desc;
    hybrid_data_info info;
    hybrid_data_describe(t->data, &info);
    if (!d->n_steps)
        d->n_steps = (int64_t)(o->epochs * (double)info.n_windows / ((double)d->n_seq * d->n_batches) + 0.5);
    if (d->n_steps < 1) d->n_steps = 1;
    d->n_warmup = d->n_steps / 10;
    d->rate_end = d->rate / 10;
}

static bool open_run(options *o, training *t, hybrid_error *e)
{
    hybrid_runtime_desc rd;
    memset(&rd, 0, sizeof rd);
    rd.n_threads = o->threads;
    rd.device = "cpu";
    if (hybrid_runtime_create(&rd, &t->rt, e) || !open_model(o, t, e) || !open_data(o, t, e)) return false;
    schedule(o, t);
    return training_open(t, e);
}

/* What was learned, for others. */
static bool write_out(const options *o, training *t, hybrid_error *e)
{
    if (!t->adapter) return !hybrid_trainer_export(t->trainer, t->out, o->mix, e);
    if (!o->merge) return !hybrid_adapter_save(t->adapter, t->out, HYBRID_TYPE_F32, e);
    return !hybrid_adapter_merge(t->model, &t->adapter, NULL, 1, t->out, o->mix, e);
}

static bool all_of_it(options *o, training *t, hybrid_error *e)
{
    hybrid_model_info info;
    if (!open_run(o, t, e)) return false;
    hybrid_model_describe(t->model, &info);
    fprintf(stderr, "%s: %.2f million weights; %.0f %s, %.0f tokens to learn; %lld steps%s\n", info.name,
            (double)info.n_params / 1e6, (double)t->info.n_documents,
            o->kind == HYBRID_DATA_CHAT ? "conversations" : "documents", (double)t->info.n_targets,
            (long long)t->desc.n_steps, t->resumed ? "; going on from the checkpoint" : "");
    if (!training_run(t, e)) return false;
    if (stop_wanted) return true;
    if (!write_out(o, t, e)) return false;
    fprintf(stderr, "wrote %s, and %s, which a browser shows\n", t->out, t->svg);
    return true;
}

int main(int argc, char **argv)
{
    static options o;
    static training t;
    hybrid_error e;
    bool ok;
    if (!parse(argc, argv, &o, &t) || !training_begin(&t)) return 1;
    e.message[0] = 0;
    ok = all_of_it(&o, &t, &e);
    if (!ok && e.message[0]) training_fail(&t, e.message, NULL);
    training_close(&t);
    hybrid_template_destroy(o.tmpl);
    return !ok;
}
