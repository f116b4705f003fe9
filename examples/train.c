/* train: a language model from nothing: texts in, a GGUF out, which every program that runs GGUF models runs.
 *
 *     cc -O2 train.c -o train -lm                        (hybrid.h and training.h beside it; on Windows
 *                                                       windows_utf8.h, too)
 *     ./train shakespeare.txt -o shakespeare.gguf
 *
 * It makes a vocabulary of the texts (byte-level BPE), a model with random weights, and trains it; a line says how far
 * it is, OUT.svg shows the loss in a browser, OUT.jsonl has the numbers, and OUT.ckpt is what it goes on from when it
 * is started again. Ctrl-C saves and ends.
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include "training.h"
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
    "      --format NAME     of what products multiply: fp32 (default), bf16 or fp16, as tensor cores do\n"
    "      --predict MODE    move weights along where they go anyway: off (default), auto, A, A2, B or C;\n"
    "                        D: half of the batches of --accumulate go back (--predict-set fraction=X)\n"
    "      --predict-preset NAME    settings that go together; help: which\n"
    "      --predict-set KEY=VALUE  a setting of the predictor; help: which. May be repeated\n"
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
    int vocab, threads;
    hybrid_model_shape shape;
    float validation;
    hybrid_mix mix;
} options;

static void defaults(options *o, training *t)
{
    memset(o, 0, sizeof *o);
    memset(t, 0, sizeof *t);
    t->program = "train";
    t->out = "model.gguf";
    t->every = 100;
    o->vocab = 1024;
    o->shape.n_layer = 4;
    o->shape.n_embd = 128;
    o->shape.n_head = 4;
    t->desc.n_ctx = 64;
    t->desc.n_seq = 12;
    t->desc.n_batches = 1;
    t->desc.n_steps = 1000;
    t->desc.rate = 1e-3f;
    t->desc.n_warmup = 100;
    t->desc.decay = 0.1f;
    t->desc.clip = 1;
    t->desc.beta2 = 0.99f;
    t->desc.schedule = HYBRID_SCHEDULE_COSINE;
    o->validation = 0.1f;
    o->mix = HYBRID_MIX_F32;
}

/* True: the option was known, and v is its value. */
static bool option(options *o, training *t, const char *a, const char *v)
{
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
    if (IS("-o", "--out"))
        t->out = v;
    else if (IS("-n", "--steps"))
        t->desc.n_steps = training_count(t, a, v, 1);
    else if (IS("--vocab", "--vocab"))
        o->vocab = training_count(t, a, v, 1);
    else if (IS("--arch", "--arch"))
        o->shape.architecture = v;
    else if (IS("--layers", "--layers"))
        o->shape.n_layer = training_count(t, a, v, 1);
    else if (IS("--width", "--width"))
        o->shape.n_embd = training_count(t, a, v, 1);
    else if (IS("--heads", "--heads"))
        o->shape.n_head = training_count(t, a, v, 1);
    else if (IS("-c", "--context"))
        t->desc.n_ctx = training_count(t, a, v, 1);
    else if (IS("-b", "--batch"))
        t->desc.n_seq = training_count(t, a, v, 1);
    else if (IS("--accumulate", "--accumulate"))
        t->desc.n_batches = training_count(t, a, v, 1);
    else if (IS("--rate", "--rate"))
        t->desc.rate = (float)training_number(t, a, v, 1e-9);
    else if (IS("--warmup", "--warmup"))
        t->desc.n_warmup = training_count(t, a, v, 0);
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
    else if (IS("-s", "--seed"))
        o->shape.seed = (uint64_t)training_count(t, a, v, 0);
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
        else if (a[0] != '-') {
            if (o->n_texts == TEXTS) return training_fail(t, "too many texts", NULL);
            o->texts[o->n_texts++].path = a;
        } else {
            if (!v) return training_fail(t, "this option needs a value, or does not exist (see --help)", a);
            if (!option(o, t, a, v)) return training_fail(t, "unknown option or value (see --help)", a);
            i++;
        }
    }
    o->shape.n_ctx = t->desc.n_ctx;
    t->desc.rate_end = t->desc.rate / 10;
    if (t->desc.n_warmup > t->desc.n_steps / 10) t->desc.n_warmup = t->desc.n_steps / 10;
    for (i = 0; i < (int)o->n_texts; i++)
        if (!training_spares(t, o->texts[i].path)) return false;
    if (o->n_texts) return true;
    fputs(usage, stderr);
    return false;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* The model of the checkpoint; or a vocabulary of the texts, and a model with random weights. */
static bool open_model(options *o, training *t, hybrid_error *e)
{
    hybrid_tokenizer *tokenizer = NULL;
    hybrid_bpe_desc bpe;
    hybrid_model_desc md;
    hybrid_result result;
    memset(&bpe, 0, sizeof bpe);
    memset(&md, 0, sizeof md);
    if (t->resumed) {
        md.path = t->ckpt;
        md.trainable = true;
        return !hybrid_model_load(t->rt, &md, &t->model, e);
    }
    bpe.texts = o->texts;
    bpe.n_texts = o->n_texts;
    bpe.vocab_size = o->vocab;
    if (hybrid_bpe_train(t->rt, &bpe, &tokenizer, NULL, e)) return false;
    o->shape.tokenizer = tokenizer;
    result = hybrid_model_create(t->rt, &o->shape, &t->model, e);
    hybrid_tokenizer_destroy(tokenizer);
    return !result;
}

static bool open_run(options *o, training *t, hybrid_error *e)
{
    hybrid_runtime_desc rd;
    hybrid_data_desc dd;
    memset(&rd, 0, sizeof rd);
    memset(&dd, 0, sizeof dd);
    rd.n_threads = o->threads;
    rd.device = "cpu";
    if (hybrid_runtime_create(&rd, &t->rt, e) || !open_model(o, t, e)) return false;
    dd.sources = o->texts;
    dd.n_sources = o->n_texts;
    dd.tokenizer = hybrid_model_tokenizer(t->model);
    dd.n_ctx = t->desc.n_ctx;
    dd.validation = o->validation;
    dd.seed = o->shape.seed;
    return !hybrid_data_create(t->rt, &dd, &t->data, e) && training_open(t, e);
}

/* What it has learned to say. */
static void sample(const training *t)
{
    hybrid_session_desc sd;
    hybrid_session *session;
    const char *piece;
    memset(&sd, 0, sizeof sd);
    sd.max_tokens = t->desc.n_ctx - 2;
    sd.sampler.temperature = 0.8f;
    sd.sampler.top_k = 40;
    if (hybrid_session_create(t->model, &sd, &session, NULL)) return;
    printf("\n");
    if (!hybrid_session_complete(session, "\n"))
        while ((piece = hybrid_session_next(session)) != NULL) fputs(piece, stdout);
    printf("\n");
    hybrid_session_destroy(session);
}

static bool all_of_it(options *o, training *t, hybrid_error *e)
{
    hybrid_model_info info;
    if (!open_run(o, t, e)) return false;
    hybrid_model_describe(t->model, &info);
    fprintf(stderr, "%s: %.2f million weights, %d tokens; %.0f tokens of text%s\n", info.architecture,
            (double)info.n_params / 1e6, info.n_vocab, (double)t->info.n_tokens,
            t->resumed ? "; going on from the checkpoint" : "");
    if (!training_run(t, e)) return false;
    if (stop_wanted) return true;
    if (hybrid_trainer_export(t->trainer, t->out, o->mix, e)) return false;
    fprintf(stderr, "wrote %s, and %s, which a browser shows\n", t->out, t->svg);
    sample(t);
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
    return !ok;
}
