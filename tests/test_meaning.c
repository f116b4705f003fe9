/* Scores and vectors of texts, against transformers' logits of tiny models (tests/oracle/make_models.py) and against
 * the engine's own, token by token in double precision. */
#include "interface.h"

enum { MOST = 128 };

/* A tiny model and what transformers makes of it. */
typedef struct tiny {
    hybrid_model *model;
    hybrid_gguf *reference;
    int32_t ids[MOST];
    int n_ids, n_vocab, n_embd;
    const float *logits; /* (n_ids, n_vocab) */
    const float *norm;   /* (n_ids, n_embd), after the last norm */
} tiny;

static const float *values_of(const tiny *t, const char *name, int64_t *n)
{
    const hybrid_gguf_tensor *found = hybrid_gguf_find_tensor(t->reference, name);
    CHECK(found, "there is no %s", name);
    if (n) *n = found ? (int64_t)(found->ne[0] * found->ne[1]) : 0;
    return found ? (const float *)found->data : NULL;
}

static bool tiny_open(tiny *t, const char *name)
{
    char path[256];
    hybrid_model_desc d;
    hybrid_source source;
    hybrid_error e;
    const float *ids;
    int64_t n = 0, i;
    memset(t, 0, sizeof *t);
    memset(&d, 0, sizeof d);
    memset(&source, 0, sizeof source);
    snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", name);
    d.path = path;
    CHECK(!hybrid_model_load(NULL, &d, &t->model, &e), "%s", e.message);
    snprintf(path, sizeof path, "tests/oracle/data/models/%s.ref.gguf", name);
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &t->reference, &e), "%s", e.message);
    if (!t->model || !t->reference) return false;
    ids = values_of(t, "ref.ids", &n);
    for (i = 0; i < n && i < MOST; i++) t->ids[i] = (int32_t)ids[i];
    t->n_ids = (int)i;
    t->n_vocab = model_info(t->model).n_vocab;
    t->n_embd = model_info(t->model).n_embd;
    t->norm = values_of(t, "ref.norm", NULL);
    return ids && t->norm;
}

static void tiny_close(tiny *t)
{
    hybrid_model_destroy(t->model);
    hybrid_gguf_destroy(t->reference);
}

static hybrid_context *context_of(hybrid_model *m, int n_ctx, int n_seq, int n_batch, int n_logits)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = n_seq;
    d.n_batch = n_batch;
    d.n_logits = n_logits;
    d.kv = HYBRID_KV_F32;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

/* ln of the share of an id in a row of logits, the slow way. */
static double log_share(const float *row, int n, int32_t id)
{
    double most = row[0], sum = 0;
    int i;
    for (i = 1; i < n; i++) most = LARGER(most, (double)row[i]);
    for (i = 0; i < n; i++) sum += exp((double)row[i] - most);
    return (double)row[id] - most - log(sum);
}

static bool is_best(const float *row, int n, int32_t id)
{
    int i;
    for (i = 0; i < n; i++)
        if (row[i] > row[id]) return false;
    return true;
}

/* ---- against transformers ---------------------------------------------------------------------------------------- */

/* The text of the reference, cut in a prompt and what follows, of every length; each of them alone, and all in one
 * call: the same bits, and within `near` of transformers. */
static void check_against_reference(const char *name)
{
    enum { PROMPT = 5 };
    tiny t;
    hybrid_context *c;
    hybrid_error e;
    hybrid_score_desc d;
    hybrid_score_info one, many[MOST];
    const int32_t *texts[MOST];
    size_t lengths[MOST];
    float each[MOST];
    double worst = 0;
    int i, k, n, n_best = 0, best_here = 0;
    TEST(name);
    if (!tiny_open(&t, name) || !(t.logits = values_of(&t, "ref.logits", NULL))) return;
    c = context_of(t.model, t.n_ids + 64, 4, 16, 3);
    n = SMALLER(t.n_ids, 40) - PROMPT;
    memset(&d, 0, sizeof d);
    memset(many, 0, sizeof many);
    for (i = 0; i < n; i++) { /* the text to its end, and all of its beginnings */
        texts[i] = t.ids + PROMPT;
        lengths[i] = (size_t)(n - i);
    }
    d.prompt_ids = t.ids;
    d.n_prompt_ids = PROMPT;
    d.text_ids = texts;
    d.n_text_ids = lengths;
    d.n_texts = (size_t)n;
    many[0].each = each;
    many[0].n_room = MOST;
    CHECK(!hybrid_score(c, &d, many, &e), "%s", e.message);
    for (k = 0; k < n; k++) {
        const float *row = t.logits + (size_t)(PROMPT + k - 1) * (size_t)t.n_vocab;
        const double want = log_share(row, t.n_vocab, t.ids[PROMPT + k]);
        worst = LARGER(worst, fabs(want - (double)each[k]));
        n_best += is_best(row, t.n_vocab, t.ids[PROMPT + k]);
    }
    CHECK(worst < 1e-4, "a token's logarithm differs by %.2e from transformers'", worst);
    CHECK(many[0].n_tokens == (size_t)n, "%d of %d tokens were counted", (int)many[0].n_tokens, n);
    CHECK(many[0].n_best == (size_t)n_best, "%d of %d tokens are the likeliest", (int)many[0].n_best, n_best);
    for (i = 0; i < n; i++) {
        double sum = 0;
        for (k = 0; k < n - i; k++) sum += (double)each[k];
        CHECK(fabs(sum - many[i].sum) < 1e-4 && fabs(many[i].mean * (n - i) - many[i].sum) < 1e-9,
              "beginning of %d tokens: %g, not %g", n - i, many[i].sum, sum);
        memset(&one, 0, sizeof one);
        d.text_ids = texts + i;
        d.n_text_ids = lengths + i;
        d.n_texts = 1;
        CHECK(!hybrid_score(c, &d, &one, &e), "%s", e.message);
        CHECK(one.sum == many[i].sum && one.n_best == many[i].n_best, "alone: %.17g, not %.17g", one.sum, many[i].sum);
    }
    for (i = 0; i < 4; i++) {
        CHECK(hybrid_seq_length(c, i) == 0, "sequence %d has %d tokens left", i, hybrid_seq_length(c, i));
        best_here += hybrid_seq_length(c, i);
    }
    CHECK(hybrid_context_room(c) >= t.n_ids + 64, "room for %d positions is left", hybrid_context_room(c));
    printf("  %-12s ln p of %d tokens within %.1e of transformers'\n", name, n, worst);
    hybrid_context_destroy(c);
    tiny_close(&t);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static hybrid_model *story(void)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.path = "examples/data/stories260K-q8_0.gguf";
    CHECK(!hybrid_model_load(NULL, &d, &m, &e), "%s", e.message);
    return m;
}

/* What hybrid_score should say of a text, by decoding all of it with all rows of logits. */
static double slow_score(hybrid_model *m, const char *prompt, const char *text, int *n)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(m);
    hybrid_context *c = context_of(m, 256, 1, 256, 256);
    char whole[512];
    int32_t ids[256];
    size_t n_prompt = 0, n_ids = 0, i;
    double sum = 0;
    hybrid_error e;
    snprintf(whole, sizeof whole, "%s%s", prompt, text);
    CHECK(!hybrid_tokenize(tok, prompt, strlen(prompt), HYBRID_TOKENIZE_ADD_SPECIAL, ids, 256, &n_prompt, &e), "%s",
          e.message);
    CHECK(!hybrid_tokenize(tok, whole, strlen(whole), HYBRID_TOKENIZE_ADD_SPECIAL, ids, 256, &n_ids, &e), "%s",
          e.message);
    CHECK(!hybrid_batch_add_logits(c, 0, ids, n_ids, (int32_t)n_ids, &e) && !hybrid_decode(c, &e), "%s", e.message);
    for (i = n_prompt; i < n_ids; i++)
        sum += log_share(hybrid_logits_at(c, 0, (int32_t)i - 1), hybrid_vocab_size(tok), ids[i]);
    *n = (int)(n_ids - n_prompt);
    hybrid_context_destroy(c);
    return sum;
}

static void check_texts(void)
{
    static const char *const texts[] = { " a little girl named Lily.", " a", " zebra qxz", " a time, there was a cat" };
    static const char prompt[] = "Once upon";
    hybrid_model *m = story();
    hybrid_context *c = m ? context_of(m, 128, 3, 32, 2) : NULL;
    hybrid_score_desc d;
    hybrid_score_info scores[COUNT(texts)];
    hybrid_error e;
    int i, n;
    TEST("texts");
    if (!c) return;
    memset(&d, 0, sizeof d);
    memset(scores, 0, sizeof scores);
    d.prompt = prompt;
    d.texts = texts;
    d.n_texts = COUNT(texts);
    CHECK(!hybrid_score(c, &d, scores, &e), "%s", e.message);
    for (i = 0; i < COUNT(texts); i++) {
        const double want = slow_score(m, prompt, texts[i], &n);
        CHECK(scores[i].n_tokens == (size_t)n, "'%s' has %d tokens, not %d", texts[i], (int)scores[i].n_tokens, n);
        CHECK(fabs(scores[i].sum - want) < 1e-9 * (1 + fabs(want)), "'%s': %.12g, not %.12g", texts[i], scores[i].sum,
              want);
    }
    CHECK(scores[3].mean > scores[2].mean, "nonsense is likelier than a story");
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* A text may change how the end of the prompt is cut into tokens: then more than the text is counted, for all alike. */
static void check_common(void)
{
    static const char *const texts[] = { "ce upon a time", " the day" };
    hybrid_model *m = story();
    hybrid_context *c = m ? context_of(m, 128, 2, 32, 8) : NULL;
    hybrid_score_desc d;
    hybrid_score_info scores[2], again[2];
    const char *const whole[] = { "Once upon a time", "On the day" };
    hybrid_error e;
    int i;
    TEST("a prompt that ends inside of a word");
    if (!c) return;
    memset(&d, 0, sizeof d);
    memset(scores, 0, sizeof scores);
    memset(again, 0, sizeof again);
    d.prompt = "On";
    d.texts = texts;
    d.n_texts = 2;
    CHECK(!hybrid_score(c, &d, scores, &e), "%s", e.message);
    d.prompt = NULL;
    d.texts = whole;
    CHECK(!hybrid_score(c, &d, again, &e), "%s", e.message);
    for (i = 0; i < 2; i++)
        CHECK(scores[i].sum == again[i].sum, "'%s': %g, not %g", whole[i], scores[i].sum, again[i].sum);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* By make_scores.py: what llama.cpp says, whose products of Q4_1 round otherwise. */
static void check_smollm2(void)
{
    static const struct {
        const char *prompt, *text;
        double sum;
        int n;
    } smollm2_scores[] = {
        { "The capital of France is", " Rome", -7.6073, 1 },
        { "The capital of France is", " Paris", -0.2644, 1 },
        { "The capital of France is", " London", -4.4007, 1 },
        { "The capital of France is", " a city in the south", -14.0291, 5 },
        { "Question: What do bees make?\nAnswer:", " Milk.", -14.4803, 2 },
        { "Question: What do bees make?\nAnswer:", " Honey.", -9.5843, 2 },
        { "Question: What do bees make?\nAnswer:", " Wool.", -13.2765, 2 },
    };
    const char *models = getenv("HYBRID_MODELS");
    char path[512];
    FILE *there;
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_context *c;
    hybrid_error e;
    double worst = 0;
    int i;
    TEST("SmolLM2");
    snprintf(path, sizeof path, "%.300s/SmolLM2-135M-Instruct.Q4_1.gguf", models ? models : "models");
    if ((there = fopen(path, "rb")) == NULL) {
        SKIP("there is no %s (make model fetches it)", path);
        return;
    }
    fclose(there);
    memset(&d, 0, sizeof d);
    d.path = path;
    CHECK(!hybrid_model_load(NULL, &d, &m, &e), "%s", e.message);
    c = m ? context_of(m, 256, 4, 64, 16) : NULL;
    for (i = 0; c && i < COUNT(smollm2_scores); i++) {
        hybrid_score_desc what;
        hybrid_score_info info;
        memset(&what, 0, sizeof what);
        memset(&info, 0, sizeof info);
        what.prompt = smollm2_scores[i].prompt;
        what.texts = &smollm2_scores[i].text;
        what.n_texts = 1;
        CHECK(!hybrid_score(c, &what, &info, &e), "%s", e.message);
        CHECK((int)info.n_tokens == smollm2_scores[i].n, "'%s': %d tokens", smollm2_scores[i].text, (int)info.n_tokens);
        CHECK(fabs(info.sum - smollm2_scores[i].sum) < 0.5, "'%s': %.4f nats, llama.cpp has %.4f",
              smollm2_scores[i].text, info.sum, smollm2_scores[i].sum);
        worst = LARGER(worst, fabs(info.sum - smollm2_scores[i].sum));
    }
    printf("  SmolLM2: within %.2f nats of llama.cpp\n", worst);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

/* What hybrid_embed should make of the first n tokens, of transformers' states. */
static void slow_vector(const tiny *t, int n, hybrid_pooling pooling, bool raw, double *vector)
{
    double length = 0;
    int i, k;
    for (k = 0; k < t->n_embd; k++) {
        double sum = 0;
        for (i = 0; i < n; i++)
            if (pooling == HYBRID_POOLING_MEAN || i == (pooling == HYBRID_POOLING_CLS ? 0 : n - 1))
                sum += (double)t->norm[i * t->n_embd + k];
        vector[k] = pooling == HYBRID_POOLING_MEAN ? sum / n : sum;
        length += vector[k] * vector[k];
    }
    for (k = 0; k < t->n_embd && !raw; k++) vector[k] /= sqrt(length);
}

/* Texts of many lengths at once, in contexts of several sizes: near transformers, and the same bits in each. Causal
 * models: the beginnings of the reference are texts of their own. */
static void check_vectors_of(const char *name, hybrid_pooling pooling, bool raw)
{
    enum { TEXTS = 9, WIDE = 128 };
    static const int n_seq[] = { 1, 4, 7 }, n_batch[] = { 64, 5, 16 };
    tiny t;
    hybrid_embed_desc d;
    hybrid_error e;
    const int32_t *texts[TEXTS];
    size_t lengths[TEXTS];
    static float first[TEXTS * WIDE], vectors[TEXTS * WIDE];
    double want[WIDE], worst = 0, most = 0;
    int i, k, turn;
    TEST(name);
    if (!tiny_open(&t, name)) return;
    CHECK(t.n_embd <= WIDE, "%d values", t.n_embd);
    memset(&d, 0, sizeof d);
    for (i = 0; i < TEXTS; i++) {
        texts[i] = t.ids;
        lengths[i] = (size_t)(1 + i * 7 % 36);
    }
    d.ids = texts;
    d.n_ids = lengths;
    d.n_texts = TEXTS;
    d.pooling = pooling;
    d.raw = raw;
    for (turn = 0; turn < COUNT(n_seq); turn++) {
        hybrid_context *c = context_of(t.model, 64, n_seq[turn], n_batch[turn], 1);
        CHECK(!hybrid_embed(c, &d, turn ? vectors : first, &e), "%s", e.message);
        CHECK(!turn || !memcmp(first, vectors, sizeof(float) * (size_t)(TEXTS * t.n_embd)),
              "other bits with %d sequences", n_seq[turn]);
        CHECK(hybrid_context_room(c) >= 64 && !hybrid_seq_length(c, 0), "tokens are left");
        CHECK(!hybrid_logits(c, 0), "there are logits");
        hybrid_context_destroy(c);
    }
    for (i = 0; i < TEXTS; i++) {
        slow_vector(&t, (int)lengths[i], pooling, raw, want);
        for (k = 0; k < t.n_embd; k++) {
            worst = LARGER(worst, fabs(want[k] - (double)first[i * t.n_embd + k]));
            most = LARGER(most, fabs(want[k]));
        }
    }
    CHECK(worst < 2e-5 * most, "%s: values differ by %.2e of %.2e", name, worst, most);
    printf("  %-12s vectors (pooling %d%s) within %.1e\n", name, (int)pooling, raw ? ", raw" : "", worst / most);
    tiny_close(&t);
}

/* ---- encoders ---------------------------------------------------------------------------------------------------- */

typedef struct seen {
    const tiny *t;
    double worst;
    int n;
} seen;

/* Every layer, as transformers has it. */
static void on_trace(void *user, const char *name, int32_t layer, const float *data, int64_t rows, int64_t cols,
                     int64_t stride)
{
    seen *s = (seen *)user;
    char key[64];
    const float *want;
    int64_t i, k, n;
    double most = 0, worst = 0;
    if (!strcmp(name, "embd"))
        snprintf(key, sizeof key, "ref.embd");
    else if (!strcmp(name, "l_out"))
        snprintf(key, sizeof key, "ref.layer.%d", layer);
    else if (!strcmp(name, "result_norm"))
        snprintf(key, sizeof key, "ref.norm");
    else
        return;
    want = values_of(s->t, key, &n);
    CHECK(want && n == rows * cols, "%s has %d rows", key, (int)rows);
    for (i = 0; want && i < rows; i++)
        for (k = 0; k < cols; k++) {
            worst = LARGER(worst, fabs((double)data[i * stride + k] - (double)want[i * cols + k]));
            most = LARGER(most, fabs((double)want[i * cols + k]));
        }
    s->n++;
    s->worst = LARGER(s->worst, worst / most);
}

static void check_layers(const tiny *t, const char *name)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_embed_desc what;
    hybrid_error e;
    float vector[128];
    seen s;
    const int32_t *texts[1];
    const size_t lengths[1] = { (size_t)t->n_ids };
    texts[0] = t->ids;
    memset(&d, 0, sizeof d);
    memset(&what, 0, sizeof what);
    s.t = t;
    s.worst = 0;
    s.n = 0;
    d.kv = HYBRID_KV_F32;
    d.trace = on_trace;
    d.trace_user = &s;
    what.ids = texts;
    what.n_ids = lengths;
    what.n_texts = 1;
    CHECK(!hybrid_context_create(t->model, &d, &c, &e) && !hybrid_embed(c, &what, vector, &e), "%s", e.message);
    CHECK(s.n == model_info(t->model).n_layer + 2, "%d tensors were compared", s.n);
    CHECK(s.worst < 1e-5, "layers differ by %.2e", s.worst);
    printf("  %-12s layers within %.1e of transformers'\n", name, s.worst);
    hybrid_context_destroy(c);
}

/* The text of the reference beside shorter ones, in every order, by every instruction set: the same bits. */
static void check_encoder(const char *name)
{
    static const char *const isas[] = { NULL, "generic", "avx2", "avx512" };
    tiny t;
    hybrid_embed_desc d;
    hybrid_error e;
    const int32_t *texts[5];
    size_t lengths[5];
    static float first[5 * 128], vectors[5 * 128];
    double want[128], worst = 0;
    int i, k, pooling;
    TEST(name);
    if (!tiny_open(&t, name)) return;
    CHECK(model_info(t.model).is_encoder, "it is not an encoder");
    check_layers(&t, name);
    for (i = 0; i < 5; i++) {
        texts[i] = t.ids;
        lengths[i] = (size_t)(i == 1 ? 7 : i == 3 ? 33 : t.n_ids);
    }
    memset(&d, 0, sizeof d);
    d.ids = texts;
    d.n_ids = lengths;
    d.n_texts = 5;
    for (pooling = HYBRID_POOLING_MEAN; pooling <= HYBRID_POOLING_LAST; pooling++) {
        d.pooling = (hybrid_pooling)pooling;
        for (i = 0; i < 8; i++) {
            hybrid_runtime_desc rd;
            hybrid_model_desc md;
            hybrid_runtime *rt = NULL;
            hybrid_model *m = NULL;
            hybrid_context *c;
            char path[256];
            memset(&rd, 0, sizeof rd);
            memset(&md, 0, sizeof md);
            rd.isa = isas[i % 4];
            rd.n_threads = 1 + i / 4 * 2;
            snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", name);
            md.path = path;
            CHECK(!hybrid_runtime_create(&rd, &rt, &e) && !hybrid_model_load(rt, &md, &m, &e), "%s", e.message);
            c = m ? context_of(m, 128, 1 + i % 3, i % 2 ? 40 : 128, 1) : NULL;
            CHECK(c && !hybrid_embed(c, &d, i ? vectors : first, &e), "%s", e.message);
            CHECK(!i || !memcmp(first, vectors, sizeof(float) * (size_t)(5 * t.n_embd)), "other bits with %s",
                  rd.isa ? rd.isa : "all");
            hybrid_context_destroy(c);
            hybrid_model_destroy(m);
            hybrid_runtime_destroy(rt);
        }
        slow_vector(&t, t.n_ids, d.pooling, false, want);
        for (i = 0; i < 5; i += 2)
            for (k = 0; k < t.n_embd; k++) worst = LARGER(worst, fabs(want[k] - (double)first[i * t.n_embd + k]));
        CHECK(memcmp(first, first + t.n_embd, sizeof(float) * (size_t)t.n_embd), "a shorter text has the same vector");
    }
    CHECK(worst < 2e-6, "vectors differ by %.2e", worst);
    tiny_close(&t);
}

/* What an encoder does not do is refused in a sentence. */
static void check_encoder_refusals(void)
{
    hybrid_model *m = NULL, *trained = NULL;
    hybrid_model_desc d;
    hybrid_context *c;
    hybrid_session *s = NULL;
    hybrid_embed_desc what;
    hybrid_error e;
    static int32_t ids[200];
    const int32_t *texts[1];
    size_t lengths[1] = { 200 };
    float vector[32], other[32];
    int i;
    TEST("what an encoder does not do");
    memset(&d, 0, sizeof d);
    memset(&what, 0, sizeof what);
    d.path = "tests/oracle/data/models/bert.gguf";
    d.trainable = true;
    CHECK(hybrid_model_load(NULL, &d, &trained, &e) == HYBRID_ERROR_UNSUPPORTED && strstr(e.message, "cannot train"),
          "%s", e.message);
    d.trainable = false;
    CHECK(!hybrid_model_load(NULL, &d, &m, &e), "%s", e.message);
    c = m ? context_of(m, 128, 1, 64, 1) : NULL;
    if (!c) return;
    for (i = 0; i < 200; i++) ids[i] = 5 + i % 20;
    texts[0] = ids;
    CHECK(hybrid_batch_add(c, 0, ids, 3, &e) == HYBRID_ERROR_UNSUPPORTED && strstr(e.message, "encoder"), "%s",
          e.message);
    if (!hybrid_session_create(m, NULL, &s, &e)) {
        hybrid_result r = hybrid_session_say(s, "Hello");
        if (!r) r = hybrid_session_next(s) ? HYBRID_OK : hybrid_session_result(s, &e);
        CHECK(r == HYBRID_ERROR_UNSUPPORTED, "a session of an encoder says something");
        hybrid_session_result(s, &e);
    }
    CHECK(strstr(e.message, "encoder"), "%s", e.message);
    hybrid_session_destroy(s);
    what.ids = texts;
    what.n_ids = lengths;
    what.n_texts = 1;
    CHECK(hybrid_embed(c, &what, vector, &e) == HYBRID_ERROR_LIMIT && strstr(e.message, "can take 64"), "%s",
          e.message);
    what.truncate = true;
    CHECK(!hybrid_embed(c, &what, vector, &e), "%s", e.message);
    lengths[0] = 64;
    CHECK(!hybrid_embed(c, &what, other, &e) && !memcmp(vector, other, sizeof other), "not what is left of it");
    what.pooling = (hybrid_pooling)9;
    CHECK(hybrid_embed(c, &what, vector, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "pooling"), "%s", e.message);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static void refuses(hybrid_context *c, const hybrid_score_desc *d, hybrid_result want, const char *words)
{
    hybrid_score_info info[4];
    hybrid_error e;
    hybrid_result r;
    memset(info, 0, sizeof info);
    info[0].sum = 7;
    r = hybrid_score(c, d, info, &e);
    CHECK(r == want && strstr(e.message, words), "%d '%s', not '%s'", (int)r, r ? e.message : "done", words);
    CHECK(info[0].sum == 7 && !info[0].n_tokens, "a refused call has written");
}

static void check_refusals(void)
{
    static const char *const texts[] = { " a", "" };
    static const int32_t good[] = { 3, 4, 5 }, bad[] = { 3, 1 << 30 };
    static const int32_t *const ids[] = { good, bad };
    static const size_t n_ids[] = { 3, 2 }, long_ids[] = { 100 };
    static int32_t long_text[100];
    static const int32_t *const long_texts[] = { long_text };
    hybrid_model *m = story();
    hybrid_context *c = m ? context_of(m, 64, 2, 32, 2) : NULL, *one = m ? context_of(m, 64, 1, 32, 2) : NULL;
    hybrid_score_desc d;
    hybrid_error e;
    int i;
    TEST("refusals");
    if (!c || !one) return;
    for (i = 0; i < 100; i++) long_text[i] = 5;
    memset(&d, 0, sizeof d);
    refuses(NULL, &d, HYBRID_ERROR_INVALID, "NULL");
    refuses(c, &d, HYBRID_ERROR_INVALID, "no texts");
    d.prompt = "Once";
    d.texts = texts;
    d.n_texts = 2;
    refuses(c, &d, HYBRID_ERROR_INVALID, "text 1 is empty");
    d.n_texts = 1;
    refuses(one, &d, HYBRID_ERROR_INVALID, "n_seq");
    CHECK(!hybrid_batch_add(c, 1, good, 3, &e), "%s", e.message);
    refuses(c, &d, HYBRID_ERROR_INVALID, "queued");
    CHECK(!hybrid_decode(c, &e), "%s", e.message);
    refuses(c, &d, HYBRID_ERROR_INVALID, "1 of the context's 2 are empty");
    CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    d.texts = NULL;
    d.text_ids = ids;
    d.n_text_ids = n_ids;
    d.n_texts = 2;
    refuses(c, &d, HYBRID_ERROR_INVALID, "prompt 0 has no tokens");
    d.prompt_ids = good;
    d.n_prompt_ids = 3;
    refuses(c, &d, HYBRID_ERROR_INVALID, "token 1 of text 1");
    d.n_texts = 1;
    d.text_ids = long_texts;
    d.n_text_ids = long_ids;
    refuses(c, &d, HYBRID_ERROR_CONTEXT_FULL, "100 tokens");
    d.prompt_ids = long_text;
    d.n_prompt_ids = 60;
    d.text_ids = ids;
    d.n_text_ids = n_ids;
    { /* two more positions, in a page that is there */
        hybrid_score_info info;
        memset(&info, 0, sizeof info);
        CHECK(!hybrid_score(c, &d, &info, &e) && info.n_tokens == 3, "%s", e.message);
    }
    d.n_prompt_ids = 64;
    refuses(c, &d, HYBRID_ERROR_CONTEXT_FULL, "n_ctx");
    CHECK(!hybrid_seq_length(c, 0) && !hybrid_seq_length(c, 1), "a failed call left tokens");
    hybrid_context_destroy(c);
    hybrid_context_destroy(one);
    hybrid_model_destroy(m);
}

int main(void)
{
    static const char *const models[] = { "llama", "gpt2", "gemma3", "qwen3moe", "lfm2", "rwkv7" };
    int i;
    for (i = 0; i < COUNT(models); i++) check_against_reference(models[i]);
    check_vectors_of("llama", HYBRID_POOLING_MEAN, false);
    check_vectors_of("gemma3", HYBRID_POOLING_MEAN, true);
    check_vectors_of("gpt2", HYBRID_POOLING_LAST, false);
    check_vectors_of("qwen3", HYBRID_POOLING_CLS, true);
    check_vectors_of("lfm2", HYBRID_POOLING_MEAN, false);
    check_encoder("bert");
    check_encoder("nomic-bert");
    check_encoder_refusals();
    check_texts();
    check_common();
    check_smollm2();
    check_refusals();
    return test_end();
}
