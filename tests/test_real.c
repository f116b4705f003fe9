/* [no-asan] Real models against other people's implementations: stories260K and BabyLlama in all their types (llama2.c,
 * llama.cpp), gpt-nano-sort (PyTorch), the one-layer K-quant files (llama.cpp), SmolLM2 and Gemma 3 (llama.cpp:
 * greedy tokens, perplexity). */
#include "interface.h"

static hybrid_model *load(const char *path)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.path = path;
    CHECK(!hybrid_model_load(NULL, &d, &m, &err), "%s", err.message);
    return m;
}

static hybrid_context *context_of(hybrid_model *m, int n_ctx, int n_logits, hybrid_kv kv)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_logits = n_logits;
    d.kv = kv;
    CHECK(!hybrid_context_create(m, &d, &c, &err), "%s", err.message);
    return c;
}

static int argmax(const float *v, int n)
{
    int i, best = 0;
    for (i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

/* The array of numbers behind "key": in a JSON text. */
static int json_ints(const char *text, const char *key, int32_t *out, int room)
{
    char quoted[64];
    const char *p;
    char *end;
    int n = 0;
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    if (!text || !(p = strstr(text, quoted)) || !(p = strchr(p, '['))) return 0;
    for (p++; n < room; p = end) {
        p += strspn(p, " ,\n\r\t");
        out[n] = (int32_t)strtol(p, &end, 10);
        if (end == p) break;
        n++;
    }
    return n;
}

/* Teacher-forced along the reference's ids: largest logit difference relative to the largest logit, and how often the
 * best token is the F32 model's. For quantized files the latter is what counts: llama.cpp has 197 of 200 (Q4_K_M)
 * and 254, 251, 238, 235 of 256. */
static void along(const char *file, const char *ref_json, const char *ref_logits, int n_vocab, double tolerance,
                  int agree)
{
    const char *path = data_path(file);
    size_t size = 0;
    char *json, *raw;
    const float *want;
    int32_t ids[512];
    int n, i, k, same = 0;
    double worst = 0;
    hybrid_model *m;
    hybrid_context *c;
    hybrid_error err;
    TEST(file);
    if (!path) {
        SKIP("the shared data folder has no %s", file);
        return;
    }
    if (!(m = load(path))) return;
    json = read_file(data_path(ref_json), NULL);
    raw = read_file(data_path(ref_logits), &size);
    want = (const float *)(void *)raw;
    n = json_ints(json, "ids", ids, 512);
    if (!n) n = json_ints(json, "greedy_ids", ids, 512);
    CHECK(n > 32 && raw, "the reference cannot be read (%d ids)", n);
    c = n > 32 && raw ? context_of(m, 512, 512, HYBRID_KV_F32) : NULL;
    if (c) {
        const int rows = SMALLER(n, (int)(size / sizeof(float) / (size_t)n_vocab));
        CHECK(model_info(m).n_vocab == n_vocab, "%d tokens", model_info(m).n_vocab);
        CHECK(!hybrid_batch_add_logits(c, 0, ids, (size_t)rows, rows, &err) && !hybrid_decode(c, &err), "%s",
              err.message);
        for (i = 0; i < rows; i++) {
            const float *got = hybrid_logits_at(c, 0, i), *ref = want + (size_t)i * (size_t)n_vocab;
            double most = 0;
            for (k = 0; k < n_vocab; k++)
                if (fabs(ref[k]) > most) most = fabs(ref[k]);
            for (k = 0; k < n_vocab; k++)
                if (!(fabs(got[k] - ref[k]) / most <= worst)) worst = fabs(got[k] - ref[k]) / most;
            same += argmax(got, n_vocab) == argmax(ref, n_vocab);
        }
        CHECK(worst <= tolerance, "logits differ by %.2e of the largest", worst);
        CHECK(same >= agree, "the best token agrees %d times of %d", same, rows);
        printf("  %-50s logits within %.1e, best token %d/%d\n", file, worst, same, rows);
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    free(json);
    free(raw);
}

/* One layer, 256 wide, in each K-quant: llama.cpp's logits of 32 tokens. Both quantize activations to 8 bits, so
 * only nearly the same. */
static void one_layer(const char *type, double tolerance)
{
    char file[128];
    size_t size = 0;
    char *text, *raw, *p, *end;
    const float *want;
    int32_t ids[64];
    int n = 0, i, k, same = 0;
    double diff = 0, most = 0;
    hybrid_model *m;
    hybrid_context *c;
    hybrid_error err;
    TEST(type);
    snprintf(file, sizeof file, "quant/models/rows-%s.gguf", type);
    if (!data_path(file)) {
        SKIP("the shared data folder has no %s", file);
        return;
    }
    m = load(data_path(file));
    snprintf(file, sizeof file, "quant/models/rows-%s.logits_32x512.f32", type);
    text = read_file(data_path("quant/models/tokens32.txt"), NULL);
    raw = read_file(data_path(file), &size);
    want = (const float *)(void *)raw;
    for (p = text; p && n < 64; p = end) {
        p += strspn(p, " ,\n");
        ids[n] = (int32_t)strtol(p, &end, 10);
        if (end == p) break;
        n++;
    }
    CHECK(m && n == 32, "the reference cannot be read (%d ids, %d bytes)", n, (int)size);
    CHECK(size == 32 * 512 * sizeof(float), "the reference cannot be read (%d ids, %d bytes)", n, (int)size);
    c = m && n == 32 ? context_of(m, 64, 32, HYBRID_KV_F32) : NULL;
    if (c && raw) {
        CHECK(!hybrid_batch_add_logits(c, 0, ids, 32, 32, &err) && !hybrid_decode(c, &err), "%s", err.message);
        for (i = 0; i < 32; i++) {
            const float *got = hybrid_logits_at(c, 0, i), *ref = want + i * 512;
            for (k = 0; k < 512; k++) {
                if (fabs(ref[k]) > most) most = fabs(ref[k]);
                if (!(fabs(got[k] - ref[k]) <= diff)) diff = fabs(got[k] - ref[k]);
            }
            same += argmax(got, 512) == argmax(ref, 512);
        }
        CHECK(diff / most < tolerance, "logits differ by %.2e of the largest", diff / most);
        CHECK(same >= 31, "the best token agrees %d times of 32", same);
        printf("  rows-%-8s logits within %.1e, best token %d/32\n", type, diff / most, same);
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    free(text);
    free(raw);
}

/* Greedy text of stories260K from BOS alone is the one that llama2.c's own test expects. */
static void story(const char *file)
{
    const char *path = data_path(file);
    char *json = read_file(data_path("models/stories260K/ref_greedy_200.json"), NULL), *at;
    hybrid_model *m;
    hybrid_session *s = NULL;
    hybrid_session_desc d;
    hybrid_error err;
    char text[4096] = "";
    const char *piece;
    TEST("story");
    if (!path || !json) {
        SKIP("the shared data folder has no %s", file);
        free(json);
        return;
    }
    m = load(path);
    memset(&d, 0, sizeof d);
    d.max_tokens = 150;
    CHECK(m && !hybrid_session_create(m, &d, &s, &err), "%s", err.message);
    CHECK(s && !hybrid_session_complete(s, ""), "complete");
    while (s && (piece = hybrid_session_next(s)) != NULL && strlen(text) + strlen(piece) < sizeof text)
        strcat(text, piece);
    at = strstr(json, "Once upon a time");
    CHECK(at != NULL, "the reference has no text");
    if (at) {
        size_t i, n = strlen(text), skip = strspn(text, " ");
        char *w = at;
        for (i = skip; i < n; i++) { /* the reference is JSON: \n and \" are escaped */
            char c = *w++;
            if (c == '\\') {
                c = *w++;
                if (c == 'n') c = '\n';
            }
            if (c != text[i]) break;
        }
        CHECK(n > 300 && i == n, "differs at byte %d of %d: %.40s", (int)i, (int)n, text + i);
    }
    hybrid_session_destroy(s);
    hybrid_model_destroy(m);
    free(json);
}

/* Published activations of a trained minGPT (tests/oracle/make_gpt_nano_sort.py); what it says about sorting is
 * right. */
static void nano(const char *name)
{
    char path[256];
    hybrid_source src;
    hybrid_gguf *ref = NULL;
    hybrid_model *m = load("tests/oracle/data/models/gpt-nano-sort.gguf");
    hybrid_context *c;
    hybrid_error err;
    const hybrid_gguf_tensor *ids_t, *logits_t;
    int32_t ids[16];
    int i, k, n, n_vocab;
    double worst = 0;
    TEST(name);
    memset(&src, 0, sizeof src);
    snprintf(path, sizeof path, "tests/oracle/data/models/gpt-nano-sort@%s.ref.gguf", name);
    src.path = path;
    CHECK(!hybrid_gguf_open(NULL, &src, &ref, &err), "%s", err.message);
    if (!m || !ref) {
        hybrid_model_destroy(m);
        return;
    }
    ids_t = hybrid_gguf_find_tensor(ref, "ref.ids");
    logits_t = hybrid_gguf_find_tensor(ref, "ref.logits");
    CHECK(ids_t && logits_t && ids_t->ne[0] <= 16, "the reference lacks ids or logits");
    c = context_of(m, model_info(m).n_ctx_train, model_info(m).n_ctx_train, HYBRID_KV_F32);
    if (c && ids_t && logits_t) {
        n = (int)ids_t->ne[0];
        for (i = 0; i < n; i++) ids[i] = (int32_t)((const float *)ids_t->data)[i];
        CHECK(!hybrid_batch_add_logits(c, 0, ids, (size_t)n, n, &err) && !hybrid_decode(c, &err), "%s", err.message);
        n_vocab = model_info(m).n_vocab;
        for (i = 0; i < n; i++)
            for (k = 0; k < n_vocab; k++) {
                double e = fabs(hybrid_logits_at(c, 0, i)[k] - ((const float *)logits_t->data)[i * n_vocab + k]);
                if (!(e <= worst)) worst = e;
            }
        CHECK(worst < 1e-3, "logits differ by %.2e", worst);
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    hybrid_gguf_destroy(ref);
}

/* ---- SmolLM2 and Gemma, see tests/oracle/make_real.py ------------------------------------------------------------ */

static const char *models_dir(void) { return getenv("HYBRID_MODELS") ? getenv("HYBRID_MODELS") : "models"; }

/* Greedy tokens are llama.cpp's, up to a near-tie: both round activations to 8 bits, in different ways. */
static void continuation(hybrid_model *m, const char *prompt, const int32_t *ids, int n, const int32_t *want,
                         const double *gap, int n_want, double tie)
{
    hybrid_context *c = context_of(m, 512, 1, HYBRID_KV_F16);
    hybrid_error err;
    char text[1024];
    int32_t own[256], id;
    size_t n_own = 0;
    int i;
    char *p = text;
    for (i = 0; prompt[i] && p < text + sizeof text - 1; i++) {
        if (prompt[i] == '\\' && prompt[i + 1] == 'n') {
            *p++ = '\n';
            i++;
        } else
            *p++ = prompt[i];
    }
    *p = 0;
    CHECK(!hybrid_tokenize(hybrid_model_tokenizer(m), text, strlen(text),
                           HYBRID_TOKENIZE_ADD_SPECIAL | HYBRID_TOKENIZE_PARSE_SPECIAL, own, 256, &n_own, &err),
          "%s", err.message);
    CHECK((int)n_own == n && !memcmp(own, ids, (size_t)n * sizeof *own), "the prompt's tokens differ (%d, not %d)",
          (int)n_own, n);
    CHECK(!hybrid_batch_add(c, 0, ids, (size_t)n, &err) && !hybrid_decode(c, &err), "%s", err.message);
    for (i = 0; i < n_want; i++) {
        id = argmax(hybrid_logits(c, 0), model_info(m).n_vocab);
        if (id != want[i]) break;
        if (hybrid_token_is_end(hybrid_model_tokenizer(m), id)) {
            i = n_want;
            break;
        }
        CHECK(!hybrid_batch_add(c, 0, &id, 1, &err) && !hybrid_decode(c, &err), "%s", err.message);
    }
    CHECK(i == n_want || gap[i] < tie, "token %d is %d, not %d, where the peer's gap is %.4f", i, id, want[i], gap[i]);
    printf("  %-40.40s %d/%d tokens%s\n", prompt, i, n_want, i < n_want ? ", then a near-tie" : "");
    hybrid_context_destroy(c);
}

static double surprise(const float *logits, int n, int32_t id)
{
    double most = logits[0], sum = 0;
    int i;
    for (i = 1; i < n; i++)
        if (logits[i] > most) most = logits[i];
    for (i = 0; i < n; i++) sum += expf(logits[i] - most);
    return log(sum) + most - logits[id];
}

/* Windows of 512 of wikitext-2, second halves, as llama-perplexity does it; 20 at most. */
static void perplexity(hybrid_model *m, int n_windows, double want)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(m);
    char *text = read_file(data_path("corpus/wikitext-2-test.txt"), NULL);
    int32_t *ids = (int32_t *)malloc(sizeof *ids * 60000), bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    hybrid_context *c;
    hybrid_error err;
    size_t n = 0;
    int w, i, scored = 0;
    double nll = 0, ppl;
    if (!text) {
        SKIP("the shared data folder has no wikitext-2-test.txt");
        free(ids);
        return;
    }
    text[60000] = 0; /* more than 20 windows; white space ends no token here */
    CHECK(!hybrid_tokenize(tok, text, strlen(text), HYBRID_TOKENIZE_ADD_SPECIAL, ids, 60000, &n, &err) && n > 20 * 512,
          "%s", err.message);
    c = context_of(m, 512, 256, HYBRID_KV_F16);
    for (w = 0; c && w < n_windows; w++) {
        int32_t *at = ids + 512 * w, first = at[0];
        if (hybrid_tokenizer_adds_bos(tok)) at[0] = bos;
        CHECK(!hybrid_seq_remove(c, 0, 0, &err), "%s", err.message);
        CHECK(!hybrid_batch_add_logits(c, 0, at, 512, 256, &err), "%s", err.message);
        CHECK(!hybrid_decode(c, &err), "%s", err.message);
        at[0] = first;
        for (i = 256; i < 511; i++, scored++)
            nll += surprise(hybrid_logits_at(c, 0, i - 256), model_info(m).n_vocab, at[i + 1]);
    }
    ppl = exp(nll / scored);
    CHECK(fabs(ppl / want - 1) < 0.003, "perplexity %.4f, not %.4f", ppl, want);
    printf("  perplexity of %d windows %.4f, the peer's %.4f: %+.3f %%\n", n_windows, ppl, want,
           100 * (ppl / want - 1));
    hybrid_context_destroy(c);
    free(ids);
    free(text);
}

static void real(const char *name, double tie)
{
    static char line[65536];
    char path[512], prompt[1024] = "";
    FILE *f;
    hybrid_model *m = NULL;
    int32_t ids[256], out[256];
    double gap[256], want;
    int n = 0, n_out, i;
    TEST(name);
    snprintf(path, sizeof path, "tests/oracle/data/real/%s.txt", name);
    if (!(f = fopen(path, "rb"))) {
        CHECK(false, "cannot read %s", path);
        return;
    }
    while (fgets(line, sizeof line, f)) {
        char *p = line, *end;
        line[strcspn(line, "\r\n")] = 0;
        if (!strncmp(line, "model ", 6)) {
            FILE *there;
            snprintf(path, sizeof path, "%.300s/%.200s", models_dir(), line + 6);
            if (!(there = fopen(path, "rb"))) {
                SKIP("%s is not there; fetch it with: make model model-gemma", path);
                break;
            }
            fclose(there);
            if (!(m = load(path))) break;
        } else if (!strncmp(line, "prompt ", 7))
            snprintf(prompt, sizeof prompt, "%.1000s", line + 7);
        else if (!strncmp(line, "ids ", 4)) {
            n = (int)strtol(p + 4, &end, 10);
            for (i = 0; i < n && i < 256; i++) ids[i] = (int32_t)strtol(end, &end, 10);
        } else if (!strncmp(line, "out ", 4)) {
            n_out = (int)strtol(p + 4, &end, 10);
            for (i = 0; i < n_out && i < 256; i++) {
                out[i] = (int32_t)strtol(end, &end, 10);
                gap[i] = strtod(end + 1, &end);
            }
            continuation(m, prompt, ids, n, out, gap, n_out, tie);
        } else if (sscanf(line, "ppl %d %lf", &n, &want) == 2 && (n < 10 || getenv("HYBRID_LONG")))
            perplexity(m, n, want);
    }
    fclose(f);
    hybrid_model_destroy(m);
}

/* Says a text and reads the answer; the session's numbers afterwards. */
static hybrid_session_info turn(hybrid_session *s, const char *text, hybrid_result expected, char answer[512])
{
    hybrid_session_info info;
    const char *piece;
    const hybrid_result r = hybrid_session_say(s, text);
    CHECK(r == expected, "%.20s...: %d, not %d", text, r, expected);
    answer[0] = 0;
    while (!r && (piece = hybrid_session_next(s)) != NULL)
        if (strlen(answer) + strlen(piece) < 512) strcat(answer, piece);
    hybrid_session_describe(s, &info);
    return info;
}

/* ../shared/cases 05: between two turns a message of 8000 bytes is refused. The next prompt has 70 tokens, as
 * without it. */
static void refused_between(void)
{
    static char big[8001], path[512], a_says[512], b_says[512];
    hybrid_session_desc d;
    hybrid_session_info x, y;
    hybrid_session *a, *b;
    hybrid_model *m;
    FILE *there;
    int i;
    TEST("a refused message between two turns");
    snprintf(path, sizeof path, "%.300s/SmolLM2-135M-Instruct.Q4_1.gguf", models_dir());
    if (!(there = fopen(path, "rb"))) {
        SKIP("%s is not there; fetch it with: make model", path);
        return;
    }
    fclose(there);
    if (!(m = load(path))) return;
    memset(&d, 0, sizeof d);
    d.context.n_ctx = 512;
    d.max_tokens = 16;
    for (i = 0; i < 8000; i++) big[i] = i % 4 ? 'z' : ' ';
    CHECK(!hybrid_session_create(m, &d, &a, NULL) && !hybrid_session_create(m, &d, &b, NULL), "two sessions");
    turn(a, "My name is Ada. Remember it.", HYBRID_OK, a_says);
    turn(b, "My name is Ada. Remember it.", HYBRID_OK, b_says);
    turn(a, big, HYBRID_ERROR_CONTEXT_FULL, a_says);
    x = turn(a, "What is my name?", HYBRID_OK, a_says);
    y = turn(b, "What is my name?", HYBRID_OK, b_says);
    CHECK(x.n_prompt == y.n_prompt && x.n_cached == y.n_cached,
          "a prompt of %d tokens, %d cached; without the refusal %d and %d", x.n_prompt, x.n_cached, y.n_prompt,
          y.n_cached);
    CHECK(x.n_prompt == 70, "a prompt of %d tokens, not 70", x.n_prompt);
    CHECK(x.n_forgotten == 0, "%d messages forgotten", x.n_forgotten);
    CHECK(!strcmp(a_says, b_says), "'%s' is not '%s'", a_says, b_says);
    hybrid_session_destroy(a);
    hybrid_session_destroy(b);
    hybrid_model_destroy(m);
}

int main(void)
{
#define STORIES "models/stories260K/stories260K"
#define BABY    "models/baby-llama-105/baby-llama-105"
    static const char *const sorts[] = { "0", "1", "2" };
    static const struct {
        const char *end;
        double tolerance;
        int agree;
    } stories[] = { { ".gguf", 1e-4, 200 }, { "-BF16.gguf", 0.03, 198 }, { "-Q4_K_M.gguf", 0.3, 193 } },
      baby[] = { { ".gguf", 1e-4, 256 },     { "-Q8_0.gguf", 0.1, 253 }, { "-Q5_0.gguf", 0.3, 250 },
                 { "-Q4_1.gguf", 0.6, 234 }, { "-Q4_0.gguf", 0.6, 231 }, { "-IQ4_NL.gguf", 0.6, 231 } };
    size_t i;
    char file[256];
    for (i = 0; i < COUNT(stories); i++) {
        snprintf(file, sizeof file, STORIES "%s", stories[i].end);
        along(file, "models/stories260K/ref_greedy_200.json", "models/stories260K/ref_greedy_logits_200x512.f32", 512,
              stories[i].tolerance, stories[i].agree);
    }
    for (i = 0; i < COUNT(baby); i++) {
        snprintf(file, sizeof file, BABY "%s", baby[i].end);
        along(file, "models/baby-llama-105/ref_greedy_256.json", "models/baby-llama-105/ref_greedy_logits_256x105.f32",
              105, baby[i].tolerance, baby[i].agree);
    }
    one_layer("F32", 1e-5);
    one_layer("Q2_K", 0.02);
    one_layer("Q3_K_S", 0.02);
    one_layer("Q4_K_S", 0.02);
    one_layer("Q5_K_S", 0.02);
    one_layer("Q6_K", 0.02);
    one_layer("IQ4_XS", 0.02);
    story(STORIES ".gguf");
    for (i = 0; i < 3; i++) nano(sorts[i]);
    real("smollm2", 0.35);
    real("gemma3", 0.35);
    refused_between();
    return test_end();
}
