/* Training: whole models against llm.c (a tiny GPT-2 of shared/data: logits, gradients, weights after 1 and 100
 * updates, all losses) and against transformers (gradients of the tiny models, oracle/make_train.py); equal bits for
 * any number of threads and any instruction set; what is refused, and what a refusal changes: nothing.
 * [tsan]: a short choice of it, in which several threads compute. */
#include "private.h"

/* ---- tools ------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    char *data;
    size_t size, room;
} bytes;
static bool bytes_write(void *user, const void *data, size_t size)
{
    bytes *b = (bytes *)user;
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->data = (char *)realloc(b->data, b->room);
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return true;
}

static bool name_is(hybrid_string name, const char *text)
{
    return name.size == strlen(text) && !memcmp(name.data, text, name.size);
}

/* ---- llm.c ------------------------------------------------------------------------------------------------------- */

enum { LLMC_LAYERS = 2, LLMC_C = 64, LLMC_T = 64, LLMC_V = 256, LLMC_B = 4, LLMC_PARAMS = 120576 };

/* The tensors of llm.c in its order: the name in a GGUF, sizes, whether there is one for each layer. */
static const struct llmc_tensor {
    const char *name;
    int ne0, ne1;
    bool layers;
} llmc_tensors[] = {
    { "token_embd.weight", LLMC_C, LLMC_V, false },  { "position_embd.weight", LLMC_C, LLMC_T, false },
    { "attn_norm.weight", LLMC_C, 1, true },         { "attn_norm.bias", LLMC_C, 1, true },
    { "attn_qkv.weight", LLMC_C, 3 * LLMC_C, true }, { "attn_qkv.bias", 3 * LLMC_C, 1, true },
    { "attn_output.weight", LLMC_C, LLMC_C, true },  { "attn_output.bias", LLMC_C, 1, true },
    { "ffn_norm.weight", LLMC_C, 1, true },          { "ffn_norm.bias", LLMC_C, 1, true },
    { "ffn_up.weight", LLMC_C, 4 * LLMC_C, true },   { "ffn_up.bias", 4 * LLMC_C, 1, true },
    { "ffn_down.weight", 4 * LLMC_C, LLMC_C, true }, { "ffn_down.bias", LLMC_C, 1, true },
    { "output_norm.weight", LLMC_C, 1, false },      { "output_norm.bias", LLMC_C, 1, false },
};
enum { LLMC_TENSORS = sizeof llmc_tensors / sizeof *llmc_tensors };

static const char *llmc_name(const struct llmc_tensor *t, int layer)
{
    static char name[64];
    snprintf(name, sizeof name, t->layers ? "blk.%d.%s" : "%.0d%s", layer, t->name);
    return name;
}

/* The model as a GGUF with bytes for tokens. */
static bytes llmc_gguf(const float *params)
{
    static char names[256][3];
    hybrid_string tokens[256];
    hybrid_gguf_writer *w = NULL;
    hybrid_error e;
    bytes out = { NULL, 0, 0 };
    int i, l, turn, n = 0;
    for (i = 0; i < 256; i++) { /* GPT-2's characters for bytes */
        const bool plain = (i > 32 && i < 127) || (i > 160 && i != 173);
        const int c = plain ? i : 256 + n++;
        names[i][0] = (char)(c < 128 ? c : 0xC0 | c >> 6);
        names[i][1] = (char)(c < 128 ? 0 : 0x80 | (c & 63));
        tokens[i].data = names[i];
        tokens[i].size = strlen(names[i]);
    }
    hybrid_gguf_writer_create(NULL, &w, NULL);
    hybrid_gguf_set_string(w, "general.architecture", "gpt2", NULL);
    hybrid_gguf_set_int(w, "gpt2.context_length", HYBRID_GGUF_U32, LLMC_T, NULL);
    hybrid_gguf_set_int(w, "gpt2.embedding_length", HYBRID_GGUF_U32, LLMC_C, NULL);
    hybrid_gguf_set_int(w, "gpt2.feed_forward_length", HYBRID_GGUF_U32, 4 * LLMC_C, NULL);
    hybrid_gguf_set_int(w, "gpt2.block_count", HYBRID_GGUF_U32, LLMC_LAYERS, NULL);
    hybrid_gguf_set_int(w, "gpt2.attention.head_count", HYBRID_GGUF_U32, 4, NULL);
    hybrid_gguf_set_float(w, "gpt2.attention.layer_norm_epsilon", HYBRID_GGUF_F32, 1e-5f, NULL);
    hybrid_gguf_set_string(w, "tokenizer.ggml.model", "gpt2", NULL);
    hybrid_gguf_set_string(w, "tokenizer.ggml.pre", "gpt-2", NULL);
    hybrid_gguf_set_strings(w, "tokenizer.ggml.tokens", tokens, 256, NULL);
    hybrid_gguf_set_strings(w, "tokenizer.ggml.merges", tokens, 0, NULL);
    for (turn = 0; turn < 2; turn++) {
        for (i = 0; i < LLMC_TENSORS; i++) {
            const struct llmc_tensor *t = &llmc_tensors[i];
            const uint64_t ne[2] = { (uint64_t)t->ne0, (uint64_t)t->ne1 };
            for (l = 0; l < (t->layers ? LLMC_LAYERS : 1); l++, params += turn ? t->ne0 * t->ne1 : 0)
                if (!turn)
                    hybrid_gguf_add_tensor(w, llmc_name(t, l), HYBRID_TYPE_F32, t->ne1 > 1 ? 2 : 1, ne, NULL);
                else
                    CHECK(!hybrid_gguf_write(w, params, sizeof(float) * (size_t)(t->ne0 * t->ne1), &e), "%s",
                          e.message);
        }
        if (!turn) CHECK(!hybrid_gguf_begin(w, bytes_write, &out, &e), "%s", e.message);
    }
    CHECK(!hybrid_gguf_end(w, &e), "%s", e.message);
    hybrid_gguf_writer_destroy(w);
    return out;
}

/* The largest difference of a trainer's arrays (weights or gradients) from those of llm.c, which is named. */
static double llmc_apart(const hybrid_trainer *t, const float *ours, const float *theirs, const char **where)
{
    double worst = 0;
    int i, l, p, j;
    for (i = 0; i < LLMC_TENSORS; i++)
        for (l = 0; l < (llmc_tensors[i].layers ? LLMC_LAYERS : 1); l++) {
            const int n = llmc_tensors[i].ne0 * llmc_tensors[i].ne1;
            const char *name = llmc_name(&llmc_tensors[i], l);
            for (p = 0; p < t->store.n_params && !name_is(t->store.params[p].name, name); p++) {}
            if (p == t->store.n_params || t->store.params[p].n != n) {
                *where = llmc_tensors[i].name;
                return 1e9;
            }
            for (j = 0; j < n; j++) {
                const double d = fabs((double)ours[t->store.params[p].at + j] - (double)theirs[j]);
                if (!(d <= worst)) {
                    worst = d;
                    *where = llmc_tensors[i].name;
                }
            }
            theirs += n;
        }
    return worst;
}

static double llmc_losses[100];
static bool llmc_read_losses(void)
{
    char *text = read_file(data_path("models/llmc-tiny-gpt2/ref_train.json"), NULL), *at;
    int i;
    if (!text) return false;
    at = strchr(strstr(text, "\"losses\""), '[');
    for (i = 0; i < 100 && at; i++) llmc_losses[i] = strtod(at + 1, &at);
    free(text);
    return i == 100;
}

static void llmc_batch(const unsigned char *text, int step, int32_t *ids, int32_t *targets)
{
    int i;
    for (i = 0; i < LLMC_B * LLMC_T; i++) {
        ids[i] = text[step * LLMC_B * LLMC_T + i];
        targets[i] = text[step * LLMC_B * LLMC_T + i + 1];
    }
}

static void test_llmc(const char *isa, int n_threads, int n_steps)
{
    char *init = read_file(data_path("models/llmc-tiny-gpt2/init.bin"), NULL);
    char *grads = read_file(data_path("models/llmc-tiny-gpt2/ref_grads_step1.f32"), NULL);
    char *after_1 = read_file(data_path("models/llmc-tiny-gpt2/ref_params_after_1.f32"), NULL);
    char *after_100 = read_file(data_path("models/llmc-tiny-gpt2/ref_params_after_100.f32"), NULL);
    char *text = read_file(data_path("corpus/tinyshakespeare.txt"), NULL);
    static int32_t ids[LLMC_B * LLMC_T], targets[LLMC_B * LLMC_T];
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_trainer_desc td;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_trainer *t = NULL;
    hybrid_train_batch batch = { ids, targets, NULL, 0, 0 };
    hybrid_train_metrics metrics;
    hybrid_error e;
    bytes file;
    double worst = 0;
    const char *where = "";
    int step;
    TEST("llm.c");
    if (!init || !grads || !after_1 || !after_100 || !text || !llmc_read_losses()) {
        SKIP("no models/llmc-tiny-gpt2 and corpus/tinyshakespeare.txt in the shared data");
        return;
    }
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&td, 0, sizeof td);
    rd.isa = isa;
    rd.n_threads = n_threads;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    file = llmc_gguf((const float *)(const void *)(init + 1024));
    md.source.data = file.data;
    md.source.size = file.size;
    md.trainable = true;
    CHECK(!hybrid_model_load(rt, &md, &m, &e), "%s", e.message);
    td.model = m;
    td.n_seq = LLMC_B;
    td.n_ctx = LLMC_T;
    td.rate = 1e-3f;
    td.beta2 = 0.999f;
    td.decay = 0.01f;
    td.decay_vectors = true;
    if (hybrid_trainer_create(&td, &t, &e)) {
        CHECK(0, "%s", e.message);
        return;
    }
    for (step = 0; step < n_steps; step++) {
        double d;
        llmc_batch((const unsigned char *)text, step, ids, targets);
        if (hybrid_trainer_step(t, &batch, &metrics, &e)) {
            CHECK(0, "step %d: %s", step, e.message);
            break;
        }
        d = fabs(metrics.loss - llmc_losses[step]);
        worst = d > worst ? d : worst;
        if (step == 0) {
            d = llmc_apart(t, t->store.grads, (const float *)(const void *)grads, &where);
            CHECK(d <= 5e-7, "gradients of the first batch: %g apart in %s", d, where);
            d = llmc_apart(t, t->store.weights, (const float *)(const void *)after_1, &where);
            CHECK(d <= 2e-5, "weights after an update: %g apart in %s", d, where);
        }
    }
    CHECK(worst <= 3e-5, "losses: %g apart", worst);
    worst = llmc_apart(t, t->store.weights, (const float *)(const void *)after_100, &where);
    if (n_steps == 100) CHECK(worst <= 4e-4, "weights after 100 updates: %g apart in %s", worst, where);
    if (getenv("HYBRID_VERBOSE")) printf("weights after 100 updates: %g apart in %s\n", worst, where);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    free(file.data);
    free(init);
    free(grads);
    free(after_1);
    free(after_100);
    free(text);
}

/* ---- models from nothing ----------------------------------------------------------------------------------------- */

static hybrid_tokenizer *shape_tokenizer(void)
{
    static const char text[] = "to be or not to be, that is the question: whether 'tis nobler in the mind to suffer";
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *t = NULL;
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.data = text;
    source.size = sizeof text - 1;
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 270;
    CHECK(!hybrid_bpe_train(NULL, &desc, &t, NULL, NULL), "a vocabulary");
    return t;
}

/* The mean and the deviation of a tensor. */
static void shape_moments(const hybrid_model *m, const char *name, double *mean, double *deviation)
{
    int32_t i;
    int64_t j;
    *mean = *deviation = -1;
    for (i = 1; i < m->weights.n_tensors; i++) {
        const hyb_tensor *t = &m->weights.tensors[i];
        const float *x = (const float *)t->data;
        const int64_t n = t->ne[0] * t->ne[1];
        double sum = 0, squares = 0;
        if (!name_is(hyb_weights_source(m->gguf, t)->name, name)) continue;
        for (j = 0; j < n; j++) sum += (double)x[j];
        for (j = 0; j < n; j++) squares += ((double)x[j] - sum / (double)n) * ((double)x[j] - sum / (double)n);
        *mean = sum / (double)n;
        *deviation = sqrt(squares / (double)n);
        return;
    }
}

/* A model learns a line by heart, and then says it. */
static void shape_learns(hybrid_model *m, const char *architecture)
{
    static const int32_t line[17] = { 5, 9, 100, 31, 7, 7, 200, 14, 90, 3, 66, 41, 9, 8, 120, 33, 60 };
    hybrid_trainer_desc td;
    hybrid_context_desc cd;
    hybrid_trainer *t = NULL;
    hybrid_context *c = NULL;
    hybrid_train_batch batch;
    hybrid_train_metrics metrics;
    hybrid_error e;
    int i, wrong = 0;
    memset(&td, 0, sizeof td);
    memset(&cd, 0, sizeof cd);
    memset(&batch, 0, sizeof batch);
    td.model = m;
    td.n_seq = 1;
    td.n_ctx = 16;
    td.rate = 3e-3f;
    batch.ids = line;
    batch.targets = line + 1;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s: %s", architecture, e.message);
    for (i = 0; i < 60 && t; i++) CHECK(!hybrid_trainer_step(t, &batch, &metrics, &e), "%s", e.message);
    CHECK(metrics.loss < 0.1, "%s: the loss of a line by heart is %g", architecture, metrics.loss);
    CHECK(!hybrid_context_create(m, &cd, &c, &e), "%s", e.message);
    for (i = 0; i < 16 && c; i++) { /* the very weights that were trained */
        const float *logits;
        int32_t best = 0, v;
        CHECK(!hybrid_batch_add(c, 0, line + i, 1, &e), "%s", e.message);
        CHECK(!hybrid_decode(c, &e), "%s", e.message);
        logits = hybrid_logits(c, 0);
        for (v = 1; v < m->hp.n_vocab; v++) best = logits[v] > logits[best] ? v : best;
        wrong += best != line[i + 1];
    }
    CHECK(!wrong, "%s: %d of 16 tokens of the line are others", architecture, wrong);
    hybrid_context_destroy(c);
    hybrid_trainer_destroy(t);
}

static void test_shape(const char *architecture)
{
    hybrid_model_shape shape;
    hybrid_tokenizer *tokenizer = shape_tokenizer();
    hybrid_model *m = NULL, *same = NULL, *other = NULL;
    hybrid_error e;
    double mean, deviation;
    TEST("models from nothing");
    memset(&shape, 0, sizeof shape);
    shape.architecture = architecture;
    shape.tokenizer = tokenizer;
    shape.n_embd = 64;
    shape.n_layer = 2;
    shape.n_head = 4;
    shape.n_head_kv = *architecture == 'l' ? 2 : 0;
    shape.n_ctx = 32;
    shape.seed = 7;
    CHECK(!hybrid_model_create(NULL, &shape, &m, &e), "%s", e.message);
    CHECK(!hybrid_model_create(NULL, &shape, &same, &e), "%s", e.message);
    shape.seed = 8;
    CHECK(!hybrid_model_create(NULL, &shape, &other, &e), "%s", e.message);
    if (m && same && other) {
        const size_t n = m->weights.owned_bytes;
        CHECK(m->hp.n_vocab == 320, "%d tokens: not those of the vocabulary, rounded up", m->hp.n_vocab);
        /* llama.cpp loads no other */
        CHECK(hybrid_vocab_size(hybrid_model_tokenizer(m)) == 320, "rows of the embedding that no token is for");
        CHECK(hybrid_token_bytes(hybrid_model_tokenizer(m), 269).size > 0 &&
                  name_is(hybrid_token_bytes(hybrid_model_tokenizer(m), 270), "[PAD270]"),
              "tokens that pad the vocabulary");
        CHECK(!memcmp(m->weights.owned, same->weights.owned, n), "the same seed gives other weights");
        CHECK(memcmp(m->weights.owned, other->weights.owned, n), "another seed gives the same weights");
        shape_moments(m, "token_embd.weight", &mean, &deviation);
        CHECK(fabs(mean) < 5e-4, "the mean of the embedding is %g", mean);
        CHECK(fabs(deviation - 0.02) < 5e-4, "the deviation of the embedding is %g", deviation);
        shape_moments(m, "blk.1.ffn_down.weight", &mean, &deviation);
        CHECK(fabs(deviation - 0.01) < 5e-4, "that of what adds to the residual stream is %g", deviation);
        shape_moments(m, "blk.0.attn_norm.weight", &mean, &deviation);
        CHECK(mean == 1 && deviation == 0, "norms are %g", mean);
        shape_learns(m, architecture);
    }
    hybrid_model_destroy(other);
    shape.n_head = 3;
    CHECK(hybrid_model_create(NULL, &shape, &other, &e) == HYBRID_ERROR_INVALID, "64 values and 3 heads");
    CHECK(strstr(e.message, "n_head 3") != NULL, "%s", e.message);
    shape.n_head = 4;
    shape.n_vocab = 100;
    CHECK(hybrid_model_create(NULL, &shape, &other, &e) == HYBRID_ERROR_INVALID, "fewer than the vocabulary");
    shape.n_vocab = 0;
    shape.architecture = "mamba";
    CHECK(hybrid_model_create(NULL, &shape, &other, &e) == HYBRID_ERROR_UNSUPPORTED, "another architecture");
    CHECK(!other, "a model that was not made");
    hybrid_tokenizer_destroy(tokenizer);
    hybrid_model_destroy(m);
    hybrid_model_destroy(same);
}

#include "train_adapters.h"
#include "train_formats.h"
#include "train_models.h"
#include "train_own.h"
#include "train_slices.h"

#include "train_runs.h"

/* Under ThreadSanitizer, which is slow: a step of every kind by several threads, and ranks that meet in their hooks. */
static int races(void)
{
    hybrid_trainer_desc d = lesson_desc();
    lesson_references_open();
    test_same_bits("gpt2", false);
    test_optimizer_bits("muon");
    d.n_batches = 2;
    test_slices("qwen2-untied", 300, d);
    CHECK(pupil_result("qwen3", NULL, 3, 1) == pupil_result("qwen3", NULL, 1, 0), "an adapter by three threads");
    CHECK(format_result("llama", HYBRID_TYPE_BF16, 2) == format_result("llama", HYBRID_TYPE_BF16, 0), "bf16 by three");
    test_slices_context();
#ifdef RANKS
    test_ranks("gpt2", false);
#endif
    hybrid_gguf_destroy(lesson_file);
    return test_end();
}

int main(void)
{
    const char *sanitizer = getenv("HYBRID_SANITIZER");
    if (sanitizer && !strcmp(sanitizer, "thread")) return races();
    test_models();
    test_adapters();
    test_formats();
    test_own();
    PART(test_shape("gpt2"));
    PART(test_shape("llama"));
    PART(test_run(&run_shapes[0], 3e-6));
    if (getenv("HYBRID_LONG")) PART(test_run(&run_shapes[1], 1e-5));
    if (getenv("HYBRID_LONG")) test_tuning();
    PART(test_llmc("generic", 1, 2));
    PART(test_llmc(NULL, 2, 100));
    hybrid_gguf_destroy(lesson_file);
    return test_end();
}
