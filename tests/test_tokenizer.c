/* [tsan] Tokenizers against other people's vectors: llama.cpp's .inp/.out, tiktoken's test plans, HF's cases, llama.cpp
 * and HF's regular expressions on random texts (tests/oracle/make_tokenizer.py), and properties: round trips,
 * streams, limits, no memory. */
#include "chosen.h"
#include "private.h"
#include "meter.h"

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static hybrid_tokenizer *open_vocab(const char *name)
{
    char path[256];
    const char *found;
    hybrid_source source = { NULL, NULL, 0, { NULL, NULL, 0, NULL }, NULL, 0 };
    hybrid_gguf *gguf;
    hybrid_tokenizer *tok = NULL;
    hybrid_error error = { HYBRID_OK, 0, "" };
    snprintf(path, sizeof path, strchr(name, '/') ? "%s" : "vocab/%s", name);
    if (!(found = data_path(path))) return NULL;
    source.path = found;
    if (hybrid_gguf_open(NULL, &source, &gguf, &error) == HYBRID_OK) {
        hybrid_tokenizer_from_gguf(NULL, gguf, &tok, &error);
        hybrid_gguf_destroy(gguf);
    }
    CHECK(tok, "%s: %s", name, error.message);
    return tok;
}

/* Numbers of a list like "12 [3, 45" up to the end of the line; freed by the caller. */
static int32_t *read_ids(const char *p, size_t *n)
{
    int32_t *ids = (int32_t *)malloc(sizeof *ids * (strcspn(p, "\n") + 1));
    *n = 0;
    while (*p && *p != '\n') {
        if (*p >= '0' && *p <= '9')
            ids[(*n)++] = (int32_t)strtol(p, (char **)&p, 10);
        else
            p++;
    }
    return ids;
}

static char *read_hex(const char *hex, size_t length, size_t *size)
{
    char *text = (char *)malloc(length / 2 + 1), pair[3] = "";
    *size = 0;
    if (*hex == '-') return text;
    for (; *size < length / 2; ++*size) {
        memcpy(pair, hex + 2 * *size, 2);
        text[*size] = (char)strtol(pair, NULL, 16);
    }
    return text;
}

static void print_ids(char *out, size_t room, const int32_t *ids, size_t n)
{
    size_t i, at = 0;
    out[0] = 0;
    for (i = 0; i < n && at + 16 < room; i++) at += (size_t)snprintf(out + at, room - at, " %d", (int)ids[i]);
}

static int same_ids(const hybrid_tokenizer *tok, const char *text, size_t size, unsigned flags, const int32_t *expected,
                    size_t n_expected, const char *what)
{
    int32_t *ids = (int32_t *)malloc(sizeof *ids * (3 * size + 8));
    size_t n = 0;
    char a[400], b[400];
    hybrid_error error = { HYBRID_OK, 0, "" };
    hybrid_result r = hybrid_tokenize(tok, text, size, flags, ids, 3 * size + 8, &n, &error);
    int same = r == HYBRID_OK && n == n_expected && !memcmp(ids, expected, n * sizeof *ids);
    print_ids(a, sizeof a, ids, n);
    print_ids(b, sizeof b, expected, n_expected);
    CHECK(same, "%s flags %u \"%.*s\": %s\n    ours  %s\n    theirs%s", what, flags, (int)(size < 200 ? size : 200),
          text, error.message, a, b);
    free(ids);
    return same;
}

static char *detokenize(const hybrid_tokenizer *tok, const int32_t *ids, size_t n, unsigned flags, size_t *size)
{
    char *text;
    hybrid_detokenize(tok, ids, n, flags, NULL, 0, size, NULL);
    text = (char *)malloc(*size + 1);
    CHECK(hybrid_detokenize(tok, ids, n, flags, text, *size, size, NULL) == HYBRID_OK, "detokenize %zu ids", n);
    return text;
}

/* The fields of a line between tabs; the number of fields. */
static int fields(char *line, char *field[4])
{
    int n = 0;
    for (field[n++] = line; *line && n < 4; line++)
        if (*line == '\t') {
            *line = 0;
            field[n++] = line + 1;
        }
    return n;
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

static void test_llamacpp_vocab(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[128], *inputs, *outputs, *p, *q, *line;
    size_t size, n, cases = 0;
    hybrid_tokenizer *tok = open_vocab(name);
    snprintf(path, sizeof path, "vocab/%s.inp", name);
    inputs = read_file(data_path(path), &size);
    snprintf(path, sizeof path, "vocab/%s.out", name);
    outputs = read_file(data_path(path), NULL);
    if (!tok || !inputs || !outputs) {
        SKIP("%s: not in the test data", name);
        free(inputs);
        free(outputs);
        hybrid_tokenizer_destroy(tok);
        return;
    }
    for (p = inputs, line = outputs; (q = strstr(p, separator)) != NULL; p = q + sizeof separator - 1, cases++) {
        int32_t *expected = read_ids(line, &n);
        same_ids(tok, p, (size_t)(q - p), 0, expected, n, name);
        free(expected);
        line += strcspn(line, "\n") + (line[strcspn(line, "\n")] != 0);
    }
    CHECK(cases == 46, "%s: %zu cases", name, cases);
    free(inputs);
    free(outputs);
    hybrid_tokenizer_destroy(tok);
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* A tiktoken file: "base64 rank" lines. extra: names of special tokens with their ids. */
static hybrid_tokenizer *open_tiktoken(const char *file, const char *pre, const char *const *names, const int *name_ids,
                                       int n_names)
{
    char path[128], *data, *p, *bytes, *at;
    size_t size, n_tokens = 0, i;
    hybrid_string *tokens;
    uint8_t *types;
    hybrid_tokenizer_desc desc;
    hybrid_tokenizer *tok = NULL;
    hybrid_error error = { HYBRID_OK, 0, "" };
    snprintf(path, sizeof path, "tokenizer/tiktoken/%s.tiktoken", file);
    if (!(data = read_file(data_path(path), &size))) return NULL;
    tokens = (hybrid_string *)calloc(210000, sizeof *tokens);
    types = (uint8_t *)malloc(210000);
    memset(types, HYBRID_TOKEN_NORMAL, 210000);
    at = bytes = (char *)malloc(size);
    for (p = data; *p; p++) {
        char *begin = at;
        unsigned bits = 0;
        int n_bits = 0, v;
        size_t id;
        for (; (v = base64_value(*p)) >= 0; p++) {
            bits = bits << 6 | (unsigned)v;
            if ((n_bits += 6) >= 8) {
                n_bits -= 8;
                *at++ = (char)(bits >> n_bits);
            }
        }
        while (*p == '=') p++;
        id = (size_t)strtol(p, &p, 10);
        tokens[id].data = begin;
        tokens[id].size = (size_t)(at - begin);
        if (id >= n_tokens) n_tokens = id + 1;
        while (*p && *p != '\n') p++;
    }
    for (i = 0; i < (size_t)n_names; i++) {
        tokens[name_ids[i]].data = names[i];
        tokens[name_ids[i]].size = strlen(names[i]);
        types[name_ids[i]] = HYBRID_TOKEN_CONTROL;
        if ((size_t)name_ids[i] >= n_tokens) n_tokens = (size_t)name_ids[i] + 1;
    }
    memset(&desc, 0, sizeof desc);
    desc.pre = pre;
    desc.tokens = tokens;
    desc.n_tokens = n_tokens;
    desc.types = types;
    desc.raw_tokens = true;
    CHECK(hybrid_tokenizer_create(NULL, &desc, &tok, &error) == HYBRID_OK, "%s: %s", file, error.message);
    free(data);
    free(bytes);
    free(tokens);
    free(types);
    return tok;
}

#define N_ENCODINGS 5
static const char *const encoding_names[N_ENCODINGS] = { "r50k_base", "p50k_base", "p50k_edit", "cl100k_base",
                                                         "o200k_base" };

static hybrid_tokenizer *open_encoding(int i)
{
    static const char *const files[N_ENCODINGS] = { "r50k_base", "p50k_base", "p50k_base", "cl100k_base",
                                                    "o200k_base" };
    static const char *const pres[N_ENCODINGS] = { "r50k", "p50k", "gpt-2", "cl100k", "o200k" };
    static const char *const names[] = { "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>" };
    static const int ids[N_ENCODINGS][4] = { { 50256, 0, 0, 0 },
                                             { 50256, 0, 0, 0 },
                                             { 50256, 50281, 50282, 50283 },
                                             { 100257, 100258, 100259, 100260 },
                                             { 199999, 0, 0, 0 } };
    return open_tiktoken(files[i], pres[i], names, ids[i], ids[i][1] ? 4 : 1);
}

static void test_tiktoken(void)
{
    hybrid_tokenizer *tok[N_ENCODINGS];
    char *plan = read_file(data_path("tokenizer/tiktoken/TestPlans.txt"), NULL), *p = plan;
    size_t cases = 0, n, size;
    int i;
    TEST("tiktoken test plans");
    if (!plan) {
        SKIP("tokenizer/tiktoken/TestPlans.txt is not in the test data");
        return;
    }
    for (i = 0; i < N_ENCODINGS; i++) tok[i] = open_encoding(i);
    while ((p = strstr(p, "EncodingName: ")) != NULL) {
        char *sample = strstr(p, "\nSample: "), *encoded = sample ? strstr(sample, "\nEncoded: ") : NULL, *text;
        int32_t *ids;
        if (!encoded) break;
        p += 14;
        for (i = 0; i < N_ENCODINGS && strncmp(p, encoding_names[i], strlen(encoding_names[i])); i++) {}
        sample += 9;
        ids = read_ids(encoded + 10, &n);
        if (i < N_ENCODINGS && tok[i] &&
            same_ids(tok[i], sample, (size_t)(encoded - sample), 0, ids, n, encoding_names[i])) {
            text = detokenize(tok[i], ids, n, 0, &size);
            CHECK(size == (size_t)(encoded - sample) && !memcmp(text, sample, size), "%s: round trip of \"%.*s\"",
                  encoding_names[i], (int)(encoded - sample), sample);
            free(text);
        }
        free(ids);
        cases++;
        p = encoded;
    }
    CHECK(cases == 313, "%zu cases", cases);
    for (i = 0; i < N_ENCODINGS; i++) hybrid_tokenizer_destroy(tok[i]);
    free(plan);
}

/* 100 lines "text => 1,2,3" */
static void test_ggml_prompts(const char *vocab, const char *name)
{
    char path[128], *data, *line, *end, *arrow;
    hybrid_tokenizer *tok = open_vocab(vocab);
    size_t n, cases = 0;
    snprintf(path, sizeof path, "tokenizer/vectors/%s", name);
    data = read_file(data_path(path), NULL);
    if (!tok || !data) {
        SKIP("%s is not in the test data", name);
        free(data);
        hybrid_tokenizer_destroy(tok);
        return;
    }
    for (line = data; *line; line = end + (*end != 0)) {
        int32_t *ids;
        end = line + strcspn(line, "\n");
        arrow = strstr(line, " => ");
        if (!arrow || arrow > end) continue;
        ids = read_ids(arrow + 4, &n);
        same_ids(tok, line, (size_t)(arrow - line), 0, ids, n, name);
        free(ids);
        cases++;
    }
    CHECK(cases == 100, "%s: %zu cases", name, cases);
    free(data);
    hybrid_tokenizer_destroy(tok);
}

/* Lines of tests/oracle/data: "vocabulary <tab> [flags <tab>] text in hex <tab> ids". */
static void test_vocab_lines(const char *file, bool with_flags)
{
    char *data = read_file(file, NULL), *line, *end, *field[4], name[128] = "";
    hybrid_tokenizer *tok = NULL;
    size_t n, size, cases = 0;
    TEST(file);
    CHECK(data, "cannot read %s (run from the root of the repository)", file);
    if (!data) return;
    for (line = data; *line; line = end) {
        int32_t *ids;
        char *text;
        unsigned flags = HYBRID_TOKENIZE_ADD_SPECIAL | HYBRID_TOKENIZE_PARSE_SPECIAL;
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (fields(line, field) != (with_flags ? 4 : 3)) {
            CHECK(0, "%s: a line has other fields", file);
            break;
        }
        if (strcmp(name, field[0])) {
            hybrid_tokenizer_destroy(tok);
            snprintf(name, sizeof name, "%s", field[0]);
            tok = strstr(name, ".gguf") ? open_vocab(name) : open_encoding(strstr(name, "o200k") ? 4 : 3);
            if (!tok) SKIP("%s is not in the test data", name);
        }
        if (!tok) continue;
        if (with_flags) flags = (unsigned)atoi(field[1]);
        text = read_hex(field[with_flags ? 2 : 1], strlen(field[with_flags ? 2 : 1]), &size);
        ids = read_ids(field[with_flags ? 3 : 2], &n);
        same_ids(tok, text, size, flags, ids, n, name);
        free(text);
        free(ids);
        cases++;
    }
    CHECK(cases > 100 || !data_path("README.md"), "%s: %zu cases", file, cases);
    hybrid_tokenizer_destroy(tok);
    free(data);
}

/* The rows that have been compared with regular expressions. */
static const hyb_pretokenizer *split_rows[64];
static size_t n_split_rows;

typedef struct splits {
    const uint8_t *classes, *begin;
    int32_t ends[1024];
    size_t n;
} splits;

static void split(splits *out, const hyb_split_fn *fn, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    for (; p < end; p = q) {
        q = fn[0](out->classes, p, end);
        if (q <= p || q > end) {
            CHECK(0, "a split of %zu bytes", (size_t)(q - p));
            return;
        }
        if (fn[1])
            split(out, fn + 1, p, q);
        else if (out->n < 1024)
            out->ends[out->n++] = (int32_t)(q - out->begin);
    }
}

static void test_splits(void)
{
    static const char file[] = "tests/oracle/data/tok_split.txt";
    static uint8_t classes[65536];
    static splits out;
    char *data = read_file(file, NULL), *line, *end, *field[4];
    size_t n, size;
    TEST("pre-tokenizers against regular expressions");
    CHECK(data, "cannot read %s (run from the root of the repository)", file);
    if (!data) return;
    hyb_unicode_expand(classes);
    for (line = data, n_split_rows = 0; *line; line = end) {
        const hyb_pretokenizer *pre;
        int32_t *ends;
        char *text;
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (fields(line, field) != 3 || !(pre = hyb_find_pretokenizer(field[0], strlen(field[0])))) {
            CHECK(0, "a line has other fields");
            break;
        }
        if ((!n_split_rows || split_rows[n_split_rows - 1] != pre) && n_split_rows < HYB_COUNT(split_rows))
            split_rows[n_split_rows++] = pre;
        text = read_hex(field[1], strlen(field[1]), &size);
        ends = read_ids(field[2], &n);
        out.classes = classes;
        out.begin = (const uint8_t *)text;
        out.n = 0;
        split(&out, pre->splits, out.begin, out.begin + size);
        CHECK(out.n == n && !memcmp(out.ends, ends, n * sizeof *ends), "%s cuts %s differently", field[0], field[1]);
        free(text);
        free(ends);
    }
    free(data);
}

static bool same_splits(const hyb_pretokenizer *a, const hyb_pretokenizer *b)
{
    size_t i;
    for (i = 0; i < HYB_COUNT(a->splits) && a->splits[i] == b->splits[i]; i++)
        if (!a->splits[i]) return true;
    return false;
}

/* Lines of tests/oracle/tok_pre.py: a name, the first name whose ids llama.cpp finds equal, ignore_merges, add_bos. */
static void test_names(void)
{
    static const char file[] = "tests/oracle/data/tok_pre.txt";
    static const char *const refused[] = {
        "gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace", "no-such", "gpt", "gpt-22", "GPT-2"
    };
    char *data = read_file(file, NULL), *line, *end, *field[4];
    size_t i, names = 0;
    TEST("names of pre-tokenizers");
    CHECK(data, "cannot read %s (run from the root of the repository)", file);
    if (!data) return;
    for (line = data; *line; line = end, names++) {
        const hyb_pretokenizer *pre, *leader;
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (fields(line, field) != 4) {
            CHECK(0, "a line has other fields");
            break;
        }
        pre = hyb_find_pretokenizer(field[0], strlen(field[0]));
        leader = hyb_find_pretokenizer(field[1], strlen(field[1]));
        CHECK(pre && leader, "%s or %s is not there", field[0], field[1]);
        if (!pre || !leader) continue;
        CHECK(same_splits(pre, leader), "%s cuts otherwise than %s", field[0], field[1]);
        CHECK(pre->whole_words == (*field[2] == '1'), "%s: words that are tokens", field[0]);
        CHECK(pre->add_bos == (*field[3] == '1'), "%s: BOS", field[0]);
        for (i = 0; i < n_split_rows && !same_splits(pre, split_rows[i]); i++) {}
        CHECK(i < n_split_rows, "%s was compared with no regular expression", field[0]);
    }
    CHECK(names == 87, "%zu names", names);
    for (i = 0; i < HYB_COUNT(refused); i++)
        CHECK(!hyb_find_pretokenizer(refused[i], strlen(refused[i])), "%s is taken for something", refused[i]);
    free(data);
}

/* "ids":[...] of the JSON files beside the models. */
static void test_models(void)
{
    hybrid_tokenizer *tok = open_vocab("models/stories260K/stories260K.gguf");
    char *json = read_file(data_path("models/stories260K/ref_nll_tinystories_sample.json"), NULL);
    char *texts = read_file(data_path("tokenizer/bpe-train/tinystories_sample.txt"), NULL), *p, *q, *text = texts;
    size_t n, size, cases = 0;
    int32_t *ids;
    TEST("stories260K");
    if (!tok || !json || !texts)
        SKIP("models/stories260K is not in the test data");
    else
        for (p = json; (p = strstr(p, "\"ids\":[")) != NULL; p++, cases++) {
            while (*text == '\n' || *text == ' ') text++;
            q = strstr(text, "<|endoftext|>");
            size = q ? (size_t)(q - text) : strlen(text);
            while (size && (text[size - 1] == '\n' || text[size - 1] == ' ')) size--;
            p[6 + strcspn(p + 6, "]")] = '\n';
            ids = read_ids(p + 7, &n);
            same_ids(tok, text, size, HYBRID_TOKENIZE_ADD_SPECIAL, ids, n, "stories260K");
            free(ids);
            if (!q) break;
            text = q + 13;
        }
    CHECK(cases == 5 || !texts, "%zu cases", cases);
    free(json);
    free(texts);
    hybrid_tokenizer_destroy(tok);

    TEST("BabyLlama: no byte tokens");
    if (!(tok = open_vocab("models/baby-llama-105/baby-llama-105.gguf"))) {
        SKIP("models/baby-llama-105 is not in the test data");
        return;
    }
    { /* what sentencepiece 0.2.3 makes of them with tok105.model */
        static const int32_t a[] = { 3, 5, 0, 44, 0, 3, 23 }, b[] = { 3, 0, 3, 23, 0, 3, 0 }, c[] = { 3, 37, 0, 15 };
        same_ids(tok, "a\xE6\xBC\xA2\xE5\xAD\x97z\xD0\x96 b", 12, 0, a, 7, "unknown side by side");
        same_ids(tok, "\xD0\x96\xD0\x96 b\xE6\xBC\xA2 \xE6\xBC\xA2", 13, 0, b, 7, "unknown and spaces");
        same_ids(tok, "x\ny", 3, 0, c, 4, "unknown newline");
    }
    hybrid_tokenizer_destroy(tok);
}

/* ---- what tokens are --------------------------------------------------------------------------------------------- */

static void test_roles(void)
{
    /* asked of llama.cpp */
    static const struct {
        const char *vocab;
        int bos, eos, eot;
        size_t size;
        int ends[7];
    } expected[] = { { "ggml-vocab-gpt-2.gguf", 50256, 50256, 50256, 50257, { 50256, -1, 0, 0, 0, 0, 0 } },
                     { "ggml-vocab-qwen2.gguf",
                       151643,
                       151645,
                       151645,
                       151669,
                       { 128247, 151643, 151645, 151662, 151663, 151664, -1 } },
                     { "ggml-vocab-phi-3.gguf", 1, 32000, 32007, 32064, { 2, 32000, 32007, -1, 0, 0, 0 } },
                     { "ggml-vocab-llama-spm.gguf", 1, 2, -1, 32000, { 2, -1, 0, 0, 0, 0, 0 } } };
    size_t i, k;
    TEST("roles and end tokens");
    for (i = 0; i < HYB_COUNT(expected); i++) {
        hybrid_tokenizer *tok = open_vocab(expected[i].vocab);
        int32_t id;
        if (!tok) {
            SKIP("%s is not in the test data", expected[i].vocab);
            continue;
        }
        CHECK((size_t)hybrid_vocab_size(tok) == expected[i].size, "%s: %d tokens", expected[i].vocab,
              hybrid_vocab_size(tok));
        CHECK(hybrid_token_role_id(tok, HYBRID_ROLE_BOS) == expected[i].bos, "%s: BOS %d", expected[i].vocab,
              (int)hybrid_token_role_id(tok, HYBRID_ROLE_BOS));
        CHECK(hybrid_token_role_id(tok, HYBRID_ROLE_EOS) == expected[i].eos, "%s: EOS %d", expected[i].vocab,
              (int)hybrid_token_role_id(tok, HYBRID_ROLE_EOS));
        CHECK(hybrid_token_role_id(tok, HYBRID_ROLE_EOT) == expected[i].eot, "%s: EOT %d", expected[i].vocab,
              (int)hybrid_token_role_id(tok, HYBRID_ROLE_EOT));
        for (id = 0, k = 0; id < (int32_t)expected[i].size; id++) {
            if (!hybrid_token_is_end(tok, id)) continue;
            CHECK(expected[i].ends[k] == id, "%s: %d ends", expected[i].vocab, (int)id);
            if (expected[i].ends[k] >= 0) k++;
        }
        CHECK(expected[i].ends[k] == -1, "%s: %zu end tokens", expected[i].vocab, k);
        CHECK(hybrid_token_bytes(tok, (int32_t)expected[i].size + 5).size == 0 && hybrid_token_bytes(tok, -1).size == 0,
              "bytes beyond the vocabulary");
        CHECK(hybrid_token_kind(tok, (int32_t)expected[i].size) == HYBRID_TOKEN_UNUSED &&
                  !hybrid_token_is_end(tok, (int32_t)expected[i].size),
              "padding rows");
        hybrid_tokenizer_destroy(tok);
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A small vocabulary with all bytes, for what needs no files. */
typedef struct small_vocab {
    char spelling[300][24];
    hybrid_string tokens[300], merges[8];
    uint8_t types[300];
    hybrid_tokenizer_desc desc;
} small_vocab;

static void add_token(small_vocab *v, const char *text, hybrid_token_type type)
{
    size_t i = v->desc.n_tokens++;
    snprintf(v->spelling[i], sizeof v->spelling[i], "%s", text);
    v->tokens[i].data = v->spelling[i];
    v->tokens[i].size = strlen(text);
    v->types[i] = (uint8_t)type;
}

static void make_small(small_vocab *v, const char *pre)
{
    static const char *const merges[] = { "h e", "l l", "he ll", "hell o", "\xC4\xA0 w", "a a", "aa aa" };
    static const char *const results[] = { "he", "ll", "hell", "hello", "\xC4\xA0w", "aa", "aaaa" };
    int16_t to_byte[324];
    char character[4];
    char text[5];
    uint32_t c;
    size_t i, n;
    memset(v, 0, sizeof *v);
    hyb_byte_spelling(to_byte);
    for (c = 0; c < 324; c++) {
        if (to_byte[c] < 0) continue;
        n = hyb_utf8_write(c, character);
        memcpy(text, character, n);
        text[n] = 0;
        add_token(v, text, HYBRID_TOKEN_NORMAL);
    }
    for (i = 0; i < HYB_COUNT(merges); i++) {
        add_token(v, results[i], HYBRID_TOKEN_NORMAL);
        v->merges[i].data = merges[i];
        v->merges[i].size = strlen(merges[i]);
    }
    v->desc.n_merges = HYB_COUNT(merges);
    add_token(v, "<|im_end|>", HYBRID_TOKEN_CONTROL);
    add_token(v, "<|im", HYBRID_TOKEN_USER_DEFINED);
    add_token(v, "<|end|>", HYBRID_TOKEN_CONTROL);
    add_token(v, "<s>", HYBRID_TOKEN_CONTROL);
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    v->desc.merges = v->merges;
    v->desc.pre = pre;
    v->desc.add_bos = true;
}

/* A vocabulary of strings that are made up on the way. */
typedef struct heap_vocab {
    char *bytes;
    size_t size, n_merges;
    hybrid_string *tokens, *merges;
    uint8_t *types;
    hybrid_tokenizer_desc desc;
} heap_vocab;

static void heap_vocab_make(heap_vocab *v, size_t bytes, size_t n_tokens, const char *model)
{
    memset(v, 0, sizeof *v);
    v->bytes = (char *)malloc(bytes);
    v->tokens = (hybrid_string *)malloc(n_tokens * sizeof *v->tokens);
    v->merges = (hybrid_string *)malloc(n_tokens * sizeof *v->merges);
    v->types = (uint8_t *)malloc(n_tokens);
    v->desc.model = model;
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    v->desc.merges = v->merges;
}

/* Room for one more token of n bytes, which the caller fills. */
static char *heap_vocab_add(heap_vocab *v, size_t n, hybrid_token_type type)
{
    char *p = v->bytes + v->size;
    v->tokens[v->desc.n_tokens].data = p;
    v->tokens[v->desc.n_tokens].size = n;
    v->types[v->desc.n_tokens++] = (uint8_t)type;
    v->size += n;
    return p;
}

static void heap_vocab_free(heap_vocab *v)
{
    free(v->bytes);
    free(v->tokens);
    free(v->merges);
    free(v->types);
}

static void test_small(void)
{
    static small_vocab v;
    hybrid_tokenizer *tok;
    hybrid_error error;
    int32_t ids[64], first;
    size_t n, size;
    char *text;
    TEST("a vocabulary in memory");
    make_small(&v, NULL);
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "%s", error.message);
    first = 256;
    {
        const int32_t hello[] = { first + 10, first + 3 }, typed[] = { first + 8 },
                      plain[] = { first + 3, first + 8, hybrid_token_find(tok, "x", 1) };
        same_ids(tok, "hello", 5, HYBRID_TOKENIZE_ADD_SPECIAL, hello, 2, "BOS by its well-known name");
        same_ids(tok, "<|im", 4, 0, typed, 1, "user-defined tokens count always");
        same_ids(tok, "hello<|imx", 10, HYBRID_TOKENIZE_PARSE_SPECIAL, plain, 3,
                 "the shorter special token when the longer does not fit");
    }
    CHECK(hybrid_tokenize(tok, "<|im_end|>", 10, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, 64, &n, NULL) == HYBRID_OK,
          "the longest special token");
    CHECK(n == 1, "the longest special token");
    CHECK(ids[0] == first + 7, "the longest special token");
    CHECK(hybrid_tokenize(tok, "<|im_end|>", 10, 0, ids, 64, &n, NULL) == HYBRID_OK,
          "control tokens are text unless asked for: %zu", n);
    CHECK(n == 7, "control tokens are text unless asked for: %zu", n);
    CHECK(ids[0] == first + 8, "control tokens are text unless asked for: %zu", n);
    CHECK(hybrid_token_is_end(tok, first + 7), "end tokens");
    CHECK(hybrid_token_is_end(tok, first + 9), "end tokens");
    CHECK(!hybrid_token_is_end(tok, first + 10), "end tokens");
    CHECK(hybrid_tokenize(tok, "", 0, 0, NULL, 0, &n, NULL) == HYBRID_OK && n == 0, "empty text");
    CHECK(hybrid_tokenize(tok, NULL, 0, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 64, &n, NULL) == HYBRID_OK && n == 1,
          "empty text with BOS");

    TEST("capacity");
    memset(ids, 0x55, sizeof ids);
    CHECK(hybrid_tokenize(tok, "abcdefgh", 8, 0, ids, 3, &n, &error) == HYBRID_ERROR_LIMIT && n == 8,
          "n is what is needed: %zu", n);
    CHECK(ids[0] == hybrid_token_find(tok, "a", 1), "no write beyond the capacity");
    CHECK(ids[2] == hybrid_token_find(tok, "c", 1), "no write beyond the capacity");
    CHECK(ids[3] == 0x55555555, "no write beyond the capacity");
    CHECK(hybrid_tokenize(tok, "a", 1, 0, NULL, 1, &n, &error) == HYBRID_ERROR_INVALID &&
              hybrid_tokenize(tok, NULL, 1, 0, ids, 1, &n, &error) == HYBRID_ERROR_INVALID,
          "NULL");
    ids[0] = first + 7;
    ids[1] = first + 3;
    ids[2] = 100000;
    text = detokenize(tok, ids, 3, 0, &size);
    CHECK(size == 5 && !memcmp(text, "hello", 5), "control tokens and padding are nothing: %.*s", (int)size, text);
    free(text);
    text = detokenize(tok, ids, 3, HYBRID_DETOKENIZE_SPECIAL, &size);
    CHECK(size == 15 && !memcmp(text, "<|im_end|>hello", 15), "control tokens by name: %.*s", (int)size, text);
    free(text);
    ids[0] = -1;
    CHECK(hybrid_detokenize(tok, ids, 1, 0, NULL, 0, &size, &error) == HYBRID_ERROR_INVALID, "a negative id");
    hybrid_tokenizer_destroy(tok);

    TEST("tables that are wrong");
    v.desc.pre = "no-such";
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_ERROR_UNSUPPORTED, "%s", error.message);
    CHECK(!tok, "%s", error.message);
    CHECK(strstr(error.message, "no-such"), "%s", error.message);
    v.desc.pre = NULL;
    v.desc.model = "unigram";
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_ERROR_UNSUPPORTED &&
              strstr(error.message, "unigram"),
          "%s", error.message);
    v.desc.model = NULL;
    v.desc.roles[HYBRID_ROLE_EOS] = "<nothing>";
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_ERROR_INVALID &&
              strstr(error.message, "<nothing>"),
          "%s", error.message);
    v.desc.roles[HYBRID_ROLE_EOS] = "<|end|>";
    v.merges[1].data = "nospace";
    v.merges[1].size = 7;
    v.merges[2].data = "\xFF \xFF";
    v.merges[2].size = 3;
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "merges without sense are left out: %s",
          error.message);
    CHECK(hybrid_token_role_id(tok, HYBRID_ROLE_EOS) == first + 9, "EOS by its text");
    hybrid_tokenizer_destroy(tok);
    hybrid_tokenizer_destroy(NULL);
    CHECK(hybrid_tokenizer_create(NULL, NULL, &tok, &error) == HYBRID_ERROR_INVALID &&
              hybrid_tokenizer_from_gguf(NULL, NULL, &tok, &error) == HYBRID_ERROR_INVALID,
          "NULL");
}

/* ---- RWKV's vocabularies ----------------------------------------------------------------------------------------- */

/* A token in RWKV's spelling. */
static void add_spelled(heap_vocab *v, const char *spelling, hybrid_token_type type)
{
    const size_t n = strlen(spelling);
    memcpy(heap_vocab_add(v, n, type), spelling, n);
}

static hybrid_tokenizer *rwkv_tokenizer(heap_vocab *v)
{
    hybrid_tokenizer *tok = NULL;
    hybrid_error error = { HYBRID_OK, 0, "" };
    CHECK(!hybrid_tokenizer_create(NULL, &v->desc, &tok, &error), "%s", error.message);
    return tok;
}

/* tests/oracle/make_tokenizer.py: its trie and llama.cpp. */
static void test_rwkv_lines(void)
{
    size_t size, n, n_file, texts = 0;
    char *file = read_file("tests/oracle/data/tok_rwkv.txt", &n_file), *line, *next, *field[4], *text;
    hybrid_tokenizer *tok = NULL;
    heap_vocab v;
    TEST("RWKV's vocabularies");
    if (!file) return;
    heap_vocab_make(&v, n_file, n_file / 8, "rwkv");
    for (line = file; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        fields(line, field);
        text = read_hex(field[2], strlen(field[2]), &size);
        if (!strcmp(field[0], "token")) {
            memcpy(heap_vocab_add(&v, size, (hybrid_token_type)atoi(field[1])), text, size);
        } else {
            int32_t *ids = read_ids(field[3], &n);
            if (!tok && !(tok = rwkv_tokenizer(&v))) break;
            same_ids(tok, text, size, (unsigned)atoi(field[1]), ids, n, "rwkv");
            free(ids);
            texts++;
        }
        free(text);
    }
    CHECK(texts > 100, "%zu texts", texts);
    hybrid_tokenizer_destroy(tok);
    heap_vocab_free(&v);
    free(file);
}

/* The longest token at every place, by asking all; a place where none begins is unknown. */
static size_t naive_longest(const heap_vocab *v, const char *text, size_t size, int32_t unknown, int32_t *ids)
{
    size_t at = 0, n = 0, i;
    while (at < size) {
        int32_t best = -1;
        for (i = 0; i < v->desc.n_tokens; i++) {
            const hybrid_string s = v->tokens[i];
            if (v->types[i] != HYBRID_TOKEN_NORMAL || s.size > size - at || memcmp(s.data, text + at, s.size)) continue;
            if (best < 0 || s.size > v->tokens[best].size) best = (int32_t)i;
        }
        at += best < 0 ? 1 : v->tokens[best].size;
        if (best >= 0 || unknown >= 0) ids[n++] = best < 0 ? unknown : best;
    }
    return n;
}

/* Vocabularies without all bytes, with and without an unknown token; every second text crosses several blocks. */
static void test_rwkv_random(void)
{
    enum { LONGEST = 3 * HYB_GREEDY_BLOCK };
    char *text = (char *)malloc(LONGEST);
    int32_t *expected = (int32_t *)malloc(LONGEST * sizeof *expected);
    uint32_t seed = 21;
    int round, k;
    TEST("the longest token");
    for (round = 0; round < 120; round++) {
        const unsigned n_tokens = 1 + next_random(&seed) % 12;
        const bool unknown = round & 1;
        hybrid_tokenizer *tok;
        heap_vocab v;
        unsigned i, j;
        heap_vocab_make(&v, 8192, 16, "rwkv");
        if (unknown) add_spelled(&v, "<unk>", HYBRID_TOKEN_UNKNOWN);
        for (i = 0; i < n_tokens; i++) {
            const unsigned n = i ? 1 + next_random(&seed) % 6 : 1 + next_random(&seed) % (round & 2 ? 5000 : 40);
            char *p = heap_vocab_add(&v, n, next_random(&seed) % 8 ? HYBRID_TOKEN_NORMAL : HYBRID_TOKEN_UNUSED);
            for (j = 0; j < n; j++) p[j] = (char)('a' + (next_random(&seed) % (n > 12 ? n / 2 : 3) == 0));
        }
        if (!(tok = rwkv_tokenizer(&v))) break;
        for (k = 0; k < 4; k++) {
            const size_t size = next_random(&seed) % (k & 1 ? (unsigned)LONGEST : 200);
            const unsigned rare = 2 + next_random(&seed) % 200;
            size_t at;
            for (at = 0; at < size; at++) text[at] = (char)('a' + (next_random(&seed) % rare == 0));
            if (size) text[next_random(&seed) % size] = 'z';
            same_ids(tok, text, size, 0, expected, naive_longest(&v, text, size, unknown ? 0 : -1, expected),
                     "longest");
        }
        hybrid_tokenizer_destroy(tok);
        heap_vocab_free(&v);
    }
    free(text);
    free(expected);
}

static void test_rwkv_spelling(void)
{
    static const char *const wrong[] = {
        "\\", "a\\", "\\x", "\\x4", "\\xg0", "\\x0g", "\\q", "\\0", "\\\\\\", "\\u0041"
    };
    static const char every[] = "\\x00\\t\\n\\r\\\\\\'\\\"'\"\\x7f\\xAb\\xfF", bytes[] = "\0\t\n\r\\'\"'\"\x7f\xAB\xFF";
    hybrid_tokenizer *tok;
    hybrid_string got;
    hybrid_error error;
    heap_vocab v;
    size_t i, n;
    int32_t ids[8];
    TEST("RWKV's spelling");
    heap_vocab_make(&v, 256, 8, "rwkv");
    add_spelled(&v, "<s>", HYBRID_TOKEN_CONTROL);
    add_spelled(&v, every, HYBRID_TOKEN_NORMAL);
    add_spelled(&v, "same", HYBRID_TOKEN_NORMAL);
    add_spelled(&v, "s\\x61me", HYBRID_TOKEN_NORMAL);
    add_spelled(&v, "<\\q>", HYBRID_TOKEN_CONTROL);
    v.desc.add_bos = true;
    if (!(tok = rwkv_tokenizer(&v))) return;
    got = hybrid_token_bytes(tok, 1);
    CHECK(got.size == sizeof bytes - 1, "%zu bytes", got.size);
    CHECK(!memcmp(got.data, bytes, HYB_MIN(got.size, sizeof bytes - 1)), "the bytes are others");
    CHECK(hybrid_token_find(tok, bytes, sizeof bytes - 1) == 1, "found by its bytes");
    CHECK(hybrid_token_find(tok, "same", 4) == 2, "of equal tokens the first");
    CHECK(hybrid_token_bytes(tok, 4).size == 4, "the name of a control token stands as it is");
    CHECK(!hybrid_tokenize(tok, "same<s>", 7, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 8, &n, &error), "%s", error.message);
    CHECK(n == 2, "BOS, one token, and nothing for what has none: %zu", n);
    CHECK(ids[0] == 0, "BOS, one token, and nothing for what has none: %zu", n);
    CHECK(ids[1] == 2, "BOS, one token, and nothing for what has none: %zu", n);
    CHECK(!hybrid_tokenize(tok, "same<s>", 7, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, 8, &n, &error), "%s", error.message);
    CHECK(n == 2, "a control token that is asked for");
    CHECK(ids[0] == 2, "a control token that is asked for");
    CHECK(ids[1] == 0, "a control token that is asked for");
    hybrid_tokenizer_destroy(tok);
    for (i = 0; i < HYB_COUNT(wrong); i++) {
        v.desc.n_tokens = 1;
        v.size = 3;
        add_spelled(&v, wrong[i], HYBRID_TOKEN_NORMAL);
        CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_ERROR_FORMAT, "\"%s\" is taken", wrong[i]);
        CHECK(strstr(error.message, "token 1 of") && strstr(error.message, "backslash"), "%s", error.message);
    }
    v.desc.n_tokens = 1;
    tok = rwkv_tokenizer(&v);
    CHECK(tok && !hybrid_tokenize(tok, "text", 4, 0, ids, 8, &n, &error), "a vocabulary without words");
    CHECK(n == 0, "a vocabulary without words");
    hybrid_tokenizer_destroy(tok);
    heap_vocab_free(&v);
}

/* ---- normalization form C ---------------------------------------------------------------------------------------- */

static void check_nfc(const hybrid_tokenizer *tok, const char *text, size_t size, const char *expected,
                      size_t n_expected)
{
    const size_t room = 3 * size + 3;
    int32_t *ids = (int32_t *)malloc(room * sizeof *ids);
    size_t n = 0, n_back = 0;
    char *back;
    hybrid_error error = { HYBRID_OK, 0, "" };
    CHECK(hybrid_tokenize(tok, text, size, 0, ids, room, &n, &error) == HYBRID_OK, "%s", error.message);
    back = detokenize(tok, ids, n, 0, &n_back);
    CHECK(n_back == n_expected && !memcmp(back, expected, n_expected), "%.*s becomes %.*s, not %.*s", (int)size, text,
          (int)n_back, back, (int)n_expected, expected);
    free(back);
    free(ids);
}

/* What HF's normalizer makes of texts, with tokens that are bytes; what is no UTF-8; a family without it. */
static void test_nfc(void)
{
    static const char file[] = "tests/oracle/data/tok_nfc.txt";
    static small_vocab v;
    static const char torn[] = "\x80"
                               "e\xCC\x81\xCC"
                               "e\xCC\x81\xFF\xCC\x81\xED\xA0\x80\xCC\x81";
    static const char torn_c[] = "\x80\xC3\xA9\xCC\xC3\xA9\xFF\xCC\x81\xED\xA0\x80\xCC\x81";
    static const char special[] = "e\xCC\x81<|im\xCC\x81"
                                  "e\xCC\x81",
                      special_c[] = "\xC3\xA9<|im\xCC\x81\xC3\xA9";
    char *data = read_file(file, NULL), *line, *end, *field[4], *text, *expected;
    hybrid_tokenizer *tok = NULL, *plain = NULL;
    size_t size, n_expected, cases = 0;
    TEST("normalization form C");
    CHECK(data, "cannot read %s (run from the root of the repository)", file);
    make_small(&v, "qwen2");
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, NULL) == HYBRID_OK, "qwen2");
    v.desc.pre = "llama-bpe";
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &plain, NULL) == HYBRID_OK, "llama-bpe");
    for (line = data; line && *line; line = end, cases++) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (fields(line, field) != 2) {
            CHECK(0, "a line has other fields");
            break;
        }
        text = read_hex(field[0], strlen(field[0]), &size);
        expected = read_hex(field[1], strlen(field[1]), &n_expected);
        check_nfc(tok, text, size, expected, n_expected);
        check_nfc(plain, text, size, text, size);
        free(text);
        free(expected);
    }
    CHECK(cases > 200, "%zu cases", cases);
    check_nfc(tok, torn, sizeof torn - 1, torn_c, sizeof torn_c - 1);
    check_nfc(tok, special, sizeof special - 1, special_c, sizeof special_c - 1);
    hybrid_tokenizer_destroy(tok);
    hybrid_tokenizer_destroy(plain);
    free(data);
}

/* Time that grows with the text: runs of marks, in order and out of it; what composes or decomposes again and again. */
static void test_nfc_steps(void)
{
    static small_vocab v;
    static const char *const parts[] = { "\xCC\x81", "\xCC\x81\xCC\xA3", "e\xCC\x81", "\xE1\x84\x80\xE1\x85\xA1",
                                         "\xF0\x9D\x85\xA0" };
    const size_t size = 60000;
    char *text = (char *)malloc(size);
    int32_t *ids = (int32_t *)malloc((3 * size + 3) * sizeof *ids);
    hybrid_tokenizer *tok = NULL;
    size_t i, at, n;
    TEST("time of normalization");
    make_small(&v, "qwen2");
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, NULL) == HYBRID_OK, "qwen2");
    for (i = 0; i < HYB_COUNT(parts); i++) {
        const size_t length = strlen(parts[i]);
        for (at = 0; at + length <= size; at += length) memcpy(text + at, parts[i], length);
        all_steps = 0;
        CHECK(hybrid_tokenize(tok, text, at, 0, ids, 3 * size + 3, &n, NULL) == HYBRID_OK, "part %zu", i);
        CHECK(all_steps < 16 * size, "part %zu: %llu steps for %zu bytes", i, all_steps, at);
    }
    hybrid_tokenizer_destroy(tok);
    free(ids);
    free(text);
}

/* A small file is given as input.bin beside this repository; the ids are those of HF tokenizers. */
static void test_nfc_case(void)
{
    static const int32_t expected[] = { 963, 1683, 109, 79252 };
    size_t size;
    char *text = read_file(data_path("../cases/08-qwen2-nfc/input.bin"), &size);
    hybrid_tokenizer *tok = text ? open_vocab("ggml-vocab-qwen2.gguf") : NULL;
    TEST("case 08");
    if (tok)
        same_ids(tok, text, size, 0, expected, 4, "Qwen 2 with decomposed letters");
    else
        SKIP("cases/08-qwen2-nfc or the vocabulary of Qwen 2 is not in the test data");
    hybrid_tokenizer_destroy(tok);
    free(text);
}

/* ---- files that leave out something ------------------------------------------------------------------------------ */

typedef struct file_bytes {
    char bytes[16384];
    size_t n;
} file_bytes;

static void put(file_bytes *f, const void *p, size_t n)
{
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
}
static void put_u32(file_bytes *f, uint32_t x) { put(f, &x, 4); }
static void put_string(file_bytes *f, const char *s, size_t n)
{
    const uint64_t size = n;
    put(f, &size, 8);
    put(f, s, n);
}
static void put_key(file_bytes *f, const char *key, uint32_t type)
{
    put_string(f, key, strlen(key));
    put_u32(f, type);
}
static void put_list(file_bytes *f, const char *key, const hybrid_string *list, size_t n)
{
    const uint64_t count = n;
    size_t i;
    put_key(f, key, 9);
    put_u32(f, 8);
    put(f, &count, 8);
    for (i = 0; i < n; i++) put_string(f, list[i].data, list[i].size);
}

/* The vocabulary as a file; pre: NULL, a name, or "7" for the number 7. */
static void put_vocab(file_bytes *f, const small_vocab *v, const char *architecture, const char *pre)
{
    const uint64_t no_tensors = 0, keys = pre ? 5 : 4;
    f->n = 0;
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put(f, &no_tensors, 8);
    put(f, &keys, 8);
    put_key(f, "general.architecture", 8);
    put_string(f, architecture, strlen(architecture));
    put_key(f, "tokenizer.ggml.model", 8);
    put_string(f, "gpt2", 4);
    put_list(f, "tokenizer.ggml.tokens", v->tokens, v->desc.n_tokens);
    put_list(f, "tokenizer.ggml.merges", v->merges, v->desc.n_merges);
    if (!pre) return;
    put_key(f, "tokenizer.ggml.pre", *pre == '7' ? 4 : 8);
    if (*pre == '7')
        put_u32(f, 7);
    else
        put_string(f, pre, strlen(pre));
}

typedef struct heard {
    int warnings; /* of tokenizer.ggml.pre */
    char last[512];
} heard;

static void hear_pre(void *user, hybrid_log_level level, const char *message)
{
    heard *h = (heard *)user;
    if (level != HYBRID_LOG_WARN || !strstr(message, "tokenizer.ggml.pre")) return;
    h->warnings++;
    snprintf(h->last, sizeof h->last, "%s", message);
}

/* The tokenizer of a file of n bytes, or of the one at path. */
static hybrid_tokenizer *open_heard(const void *data, size_t n, const char *path, heard *h, hybrid_error *error)
{
    hybrid_source source = { NULL, NULL, 0, { NULL, NULL, 0, NULL }, NULL, 0 };
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_gguf *gguf = NULL;
    hybrid_tokenizer *tok = NULL;
    memset(h, 0, sizeof *h);
    memset(&rd, 0, sizeof rd);
    memset(error, 0, sizeof *error);
    rd.logger.log = hear_pre;
    rd.logger.user = h;
    source.path = path;
    source.data = data;
    source.size = n;
    CHECK(hybrid_runtime_create(&rd, &rt, error) == HYBRID_OK, "%s", error->message);
    if (hybrid_gguf_open(rt, &source, &gguf, error) == HYBRID_OK) hybrid_tokenizer_from_gguf(rt, gguf, &tok, error);
    hybrid_gguf_destroy(gguf);
    hybrid_runtime_destroy(rt);
    return tok;
}

/* Without tokenizer.ggml.pre the rules are llama.cpp's "default", and the log says what to do. */
static void test_missing_pre(void)
{
    static small_vocab v;
    static file_bytes f;
    static const struct {
        const char *architecture, *pre, *taken;
        size_t n;
    } right[] = { { "llama", NULL, "\"default\"", 3 }, { "llama", "", "\"default\"", 3 },
                  { "gpt2", NULL, "\"gpt-2\"", 2 },    { "gptneox", NULL, "\"olmo\"", 2 },
                  { "llama", "default", NULL, 3 },     { "llama", "gpt-2", NULL, 2 } };
    static const struct {
        const char *pre, *says;
        hybrid_result code;
    } wrong[] = { { "7", "not a string", HYBRID_ERROR_FORMAT },
                  { "kimi-k3", "\"kimi-k3\", which is not known", HYBRID_ERROR_UNSUPPORTED },
                  { "gemma4", "of characters", HYBRID_ERROR_UNSUPPORTED },
                  { "whitespace", "without merging", HYBRID_ERROR_UNSUPPORTED } };
    hybrid_error error;
    hybrid_tokenizer *tok;
    int32_t ids[8];
    const char *path;
    heard h;
    size_t i, n;
    TEST("files without tokenizer.ggml.pre");
    make_small(&v, NULL);
    add_token(&v, "\xC4\xA0!", HYBRID_TOKEN_NORMAL); /* " !": one word to gpt-2, two to default */
    v.merges[0].data = "\xC4\xA0 !";
    v.merges[0].size = 4;
    for (i = 0; i < HYB_COUNT(right); i++) {
        put_vocab(&f, &v, right[i].architecture, right[i].pre);
        tok = open_heard(f.bytes, f.n, NULL, &h, &error);
        CHECK(tok, "%s", error.message);
        CHECK(h.warnings == (right[i].taken != NULL), "%d warnings", h.warnings);
        CHECK(!right[i].taken || strstr(h.last, right[i].taken), "%s", h.last);
        CHECK(!right[i].taken || strstr(h.last, "gguf-new-metadata --pre-tokenizer"), "%s", h.last);
        CHECK(hybrid_tokenize(tok, "a !", 3, 0, ids, 8, &n, NULL) == HYBRID_OK && n == right[i].n, "%zu tokens", n);
        hybrid_tokenizer_destroy(tok);
    }
    for (i = 0; i < HYB_COUNT(wrong); i++) {
        put_vocab(&f, &v, "llama", wrong[i].pre);
        tok = open_heard(f.bytes, f.n, NULL, &h, &error);
        CHECK(!tok, "%s: %s", wrong[i].pre, error.message);
        CHECK(error.result == wrong[i].code, "%s: %s", wrong[i].pre, error.message);
        CHECK(strstr(error.message, wrong[i].says), "%s: %s", wrong[i].pre, error.message);
    }
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "%s", error.message);
    CHECK(hybrid_tokenize(tok, "a !", 3, 0, ids, 8, &n, NULL) == HYBRID_OK && n == 2, "in memory, NULL is gpt-2: %zu",
          n);
    hybrid_tokenizer_destroy(tok);

    TEST("a file with RWKV's vocabulary");
    tok = open_heard(NULL, 0, "tests/oracle/data/models/rwkv7.gguf", &h, &error);
    CHECK(tok && !h.warnings, "%d warnings: %s%s", h.warnings, error.message, h.last);
    CHECK(hybrid_tokenize(tok, " the\n\n\xC3\xA9", 8, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 8, &n, NULL) == HYBRID_OK,
          "failed");
    CHECK(n == 3 && hybrid_token_bytes(tok, ids[0]).size == 4, "%zu tokens, the first of %zu bytes", n,
          hybrid_token_bytes(tok, ids[0]).size);
    CHECK(hybrid_token_is_end(tok, 0) && hybrid_token_role_id(tok, HYBRID_ROLE_BOS) == 0, "BOS and EOS are token 0");
    hybrid_tokenizer_destroy(tok);

    TEST("case 10");
    if (!(path = data_path("../cases/10-missing-pre-silent/nopre.gguf"))) {
        SKIP("cases/10-missing-pre-silent is not in the test data");
        return;
    }
    tok = open_heard(NULL, 0, path, &h, &error);
    CHECK(tok && h.warnings == 1, "%d warnings: %s", h.warnings, error.message);
    hybrid_tokenizer_destroy(tok);
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

static void test_round_trips(void)
{
    static const char *const vocabs[] = { "ggml-vocab-gpt-2.gguf", "ggml-vocab-qwen2.gguf",
                                          "ggml-vocab-llama-spm.gguf" };
    static const char alphabet[] = "  \n\taeHl's0123.-<|\xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80\xE2\x96\x81\x80\xFF";
    char text[400], *back;
    int32_t ids[1204];
    uint32_t seed = 1;
    size_t i, k, n, size, length;
    TEST("any bytes come back");
    for (i = 0; i < HYB_COUNT(vocabs); i++) {
        hybrid_tokenizer *tok = open_vocab(vocabs[i]);
        bool spm = i == 2;
        if (!tok) {
            SKIP("%s is not in the test data", vocabs[i]);
            continue;
        }
        for (k = 0; k < 2000; k++) {
            length = next_random(&seed) % sizeof text;
            for (n = 0; n < length; n++)
                text[n] = (char)(k & 1 ? (int)(next_random(&seed) & 255)
                                       : alphabet[next_random(&seed) % (sizeof alphabet - 1)]);
            /* spm reads it as a space */
            if (spm)
                for (n = 0; n + 2 < length; n++)
                    if (!memcmp(text + n, "\xE2\x96\x81", 3)) text[n] = 'x';
            CHECK(hybrid_tokenize(tok, text, length, 0, ids, 1204, &n, NULL) == HYBRID_OK, "%s: %zu bytes give %zu ids",
                  vocabs[i], length, n);
            back = detokenize(tok, ids, n, 0, &size);
            if (i == 1)
                same_ids(tok, back, size, 0, ids, n, "normalized once and for all");
            else
                CHECK(size == length && !memcmp(back, text, size), "%s: text %zu of %zu bytes comes back with %zu",
                      vocabs[i], k, length, size);
            free(back);
        }
        hybrid_tokenizer_destroy(tok);
    }
}

/* Words of all sizes around the limits of the two ways to merge give the same tokens in both. */
static void test_long_words(void)
{
    hybrid_tokenizer *tok = open_vocab("ggml-vocab-gpt-2.gguf");
    uint32_t seed = 7;
    int32_t ids[HYB_WORD_SHORT], *all;
    size_t k, i, n, size, megabytes = 3000000;
    char *text;
    TEST("long words");
    if (!tok) {
        SKIP("ggml-vocab-gpt-2.gguf is not in the test data");
        return;
    }
    for (k = 0; k < 500; k++) {
        uint8_t word[HYB_WORD_SHORT];
        int32_t heap_ids[HYB_WORD_SHORT];
        hyb_tokenize_job job;
        size = 1 + next_random(&seed) % HYB_WORD_SHORT;
        for (i = 0; i < size; i++) word[i] = (uint8_t)("etaoinshrdluaaaaee"[next_random(&seed) % 18]);
        n = hyb_merge_short(tok, word, size, ids);
        memset(&job, 0, sizeof job);
        job.t = tok;
        job.ids = heap_ids;
        job.capacity = HYB_WORD_SHORT;
        job.last = -1;
        hyb_merge_long(&job, word, HYB_MAX(size, 1));
        CHECK(job.n == n && !memcmp(ids, heap_ids, n * sizeof *ids), "\"%.*s\": %zu and %zu ids", (int)size,
              (const char *)word, n, job.n);
    }
    if (getenv("HYBRID_SANITIZER")) megabytes = 200000;
    text = (char *)malloc(megabytes);
    all = (int32_t *)malloc(megabytes * sizeof *all);
    for (k = 0; k < 3; k++) { /* quadratic time would be hours */
        for (i = 0; i < megabytes; i++) text[i] = k == 0 ? 'a' : k == 1 ? (char)('a' + next_random(&seed) % 26) : ' ';
        CHECK(hybrid_tokenize(tok, text, megabytes, 0, all, megabytes, &n, NULL) == HYBRID_OK && n > 1000,
              "%zu bytes without a gap: %zu tokens", megabytes, n);
    }
    hybrid_tokenizer_destroy(tok);
    if ((tok = open_vocab("ggml-vocab-llama-spm.gguf")) != NULL) {
        for (k = 0; k < 2; k++) {
            for (i = 0; i < megabytes / 3; i++) text[i] = k ? ' ' : (char)('a' + next_random(&seed) % 26);
            CHECK(hybrid_tokenize(tok, text, megabytes / 3, 0, all, megabytes, &n, NULL) == HYBRID_OK && n > 1000,
                  "spm: %zu bytes without a gap: %zu tokens", megabytes / 3, n);
        }
        hybrid_tokenizer_destroy(tok);
    }
    free(text);
    free(all);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void test_utf8(void)
{
    static const struct {
        const char *in, *out;
    } cases[] = { /* bytes.decode("utf-8", "replace") of Python 3.11 */
                  { "abc", "abc" },
                  { "\xC3\xA9\xF0\x9F\x98\x80", "\xC3\xA9\xF0\x9F\x98\x80" },
                  { "\x80", "\xEF\xBF\xBD" },
                  { "\xE2\x82"
                    "A",
                    "\xEF\xBF\xBD"
                    "A" },
                  { "\xF0\x9F\x98", "\xEF\xBF\xBD" },
                  { "\xF0\x9F\x98\xF0\x9F\x98\x80", "\xEF\xBF\xBD\xF0\x9F\x98\x80" },
                  { "\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD" },
                  { "\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
                  { "\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
                  { "\xE0\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
                  { "\xFF\xFE", "\xEF\xBF\xBD\xEF\xBF\xBD" },
                  { "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                    "A",
                    "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                    "A" }
    };
    char out[HYBRID_UTF8_ROOM(64) + 9], whole[HYBRID_UTF8_ROOM(64) + 9];
    uint8_t bytes[64];
    hybrid_utf8_stream stream;
    uint32_t seed = 3;
    size_t i, k, n, n_whole, size, step;
    TEST("UTF-8 streams");
    for (i = 0; i < HYB_COUNT(cases); i++) {
        memset(&stream, 0, sizeof stream);
        n = hybrid_utf8_feed(&stream, cases[i].in, strlen(cases[i].in), out);
        n += hybrid_utf8_flush(&stream, out + n);
        CHECK(n == strlen(cases[i].out) && !memcmp(out, cases[i].out, n), "case %zu gives %zu bytes", i, n);
    }
    for (k = 0; k < 20000; k++) {
        size = next_random(&seed) % 64;
        for (i = 0; i < size; i++)
            bytes[i] = "a\x80\xBF\xC3\xE2\x82\xAC\xF0\x9F\x98\xED\xA0\xF4\x90\xE0\xFF"[next_random(&seed) & 15];
        memset(&stream, 0, sizeof stream);
        n_whole = hybrid_utf8_feed(&stream, bytes, size, whole);
        n_whole += hybrid_utf8_flush(&stream, whole + n_whole);
        for (i = n = 0; i < size; i += step) {
            step = next_random(&seed) % 5;
            if (step > size - i) step = size - i;
            n += hybrid_utf8_feed(&stream, bytes + i, step, out + n);
            CHECK(stream.size <= 3, "%d bytes are held back", stream.size);
        }
        n += hybrid_utf8_flush(&stream, out + n);
        CHECK(n == n_whole && !memcmp(out, whole, n), "pieces of %zu bytes give %zu, the whole %zu", size, n, n_whole);
    }
}

static hybrid_string text_of(const char *s)
{
    hybrid_string r;
    r.data = s;
    r.size = strlen(s);
    return r;
}

/* The slow way: the first place where a stop string is complete, of several there the longest. */
static int find_stop(const char *text, size_t size, const hybrid_string *stops, int n, size_t *before)
{
    size_t end;
    int i, found = -1;
    for (end = 1; end <= size && found < 0; end++)
        for (i = 0; i < n; i++)
            if (stops[i].size <= end && !memcmp(text + end - stops[i].size, stops[i].data, stops[i].size) &&
                (found < 0 || stops[i].size > stops[found].size)) {
                found = i;
                *before = end - stops[i].size;
            }
    return found;
}

static void test_stops(void)
{
    hybrid_string stops[4], safe;
    hybrid_stop_matcher *m;
    hybrid_error error;
    char text[40], shown[64];
    uint32_t seed = 5;
    size_t k, i, n, size, step, before = 0;
    int which, expected;
    TEST("stop strings");
    stops[0] = text_of("\nUser:");
    stops[1] = text_of("</s>");
    CHECK(hybrid_stop_matcher_create(NULL, stops, 2, &m, &error) == HYBRID_OK, "%s", error.message);
    hybrid_stop_matcher_feed(m, "Hi\nUs", 5, &safe, &which, NULL);
    CHECK(safe.size == 2, "held back: %zu shown", safe.size);
    CHECK(!memcmp(safe.data, "Hi", 2), "held back: %zu shown", safe.size);
    CHECK(which == -1, "held back: %zu shown", safe.size);
    hybrid_stop_matcher_feed(m, "ers", 3, &safe, &which, NULL);
    CHECK(safe.size == 6, "it was none: %zu shown", safe.size);
    CHECK(!memcmp(safe.data, "\nUsers", 6), "it was none: %zu shown", safe.size);
    CHECK(which == -1, "it was none: %zu shown", safe.size);
    hybrid_stop_matcher_feed(m, "!</", 3, &safe, &which, NULL);
    hybrid_stop_matcher_feed(m, "s>more", 6, &safe, &which, NULL);
    CHECK(safe.size == 0 && which == 1, "found across pieces: %zu %d", safe.size, which);
    hybrid_stop_matcher_feed(m, "more", 4, &safe, &which, NULL);
    CHECK(safe.size == 0, "nothing after it");
    CHECK(which == -1, "nothing after it");
    CHECK(hybrid_stop_matcher_flush(m).size == 0, "nothing after it");
    hybrid_stop_matcher_reset(m);
    hybrid_stop_matcher_feed(m, "ok<", 3, &safe, &which, NULL);
    safe = hybrid_stop_matcher_flush(m);
    CHECK(safe.size == 1 && *safe.data == '<', "what was held back comes at the end");
    hybrid_stop_matcher_destroy(m);
    stops[0].size = 0;
    CHECK(hybrid_stop_matcher_create(NULL, stops, 1, &m, &error) == HYBRID_ERROR_INVALID && !m, "an empty stop string");
    CHECK(hybrid_stop_matcher_create(NULL, NULL, 0, &m, &error) == HYBRID_OK, "none at all");
    hybrid_stop_matcher_feed(m, "abc", 3, &safe, &which, NULL);
    CHECK(safe.size == 3, "without stop strings everything is shown");
    hybrid_stop_matcher_destroy(m);
    hybrid_stop_matcher_destroy(NULL);

    stops[0] = text_of("aab");
    stops[1] = text_of("ab");
    stops[2] = text_of("acaac");
    stops[3] = text_of("caa");
    hybrid_stop_matcher_create(NULL, stops, 4, &m, NULL);
    for (k = 0; k < 20000; k++) {
        size = next_random(&seed) % sizeof text;
        for (i = 0; i < size; i++) text[i] = "aaabc"[next_random(&seed) % 5];
        before = size;
        expected = find_stop(text, size, stops, 4, &before);
        hybrid_stop_matcher_reset(m);
        which = -1;
        for (i = n = 0; i < size && which < 0; i += step) {
            step = 1 + next_random(&seed) % 4;
            if (step > size - i) step = size - i;
            hybrid_stop_matcher_feed(m, text + i, step, &safe, &which, NULL);
            if (safe.size) memcpy(shown + n, safe.data, safe.size);
            n += safe.size;
        }
        if (which < 0) {
            safe = hybrid_stop_matcher_flush(m);
            if (safe.size) memcpy(shown + n, safe.data, safe.size);
            n += safe.size;
        }
        CHECK(which == expected, "\"%.*s\": stop %d after %zu, expected %d after %zu", (int)size, text, which, n,
              expected, before);
        CHECK(n == before, "\"%.*s\": stop %d after %zu, expected %d after %zu", (int)size, text, which, n, expected,
              before);
        CHECK(!memcmp(shown, text, n), "\"%.*s\": stop %d after %zu, expected %d after %zu", (int)size, text, which, n,
              expected, before);
    }
    hybrid_stop_matcher_destroy(m);
}

/* ---- special tokens, and how long a file or a text can make us work ---------------------------------------------- */

/* The leftmost special token, there the longest, by asking at every place. */
static size_t naive_specials(const heap_vocab *v, const char *text, size_t size, bool control, int32_t *ids)
{
    size_t at = 0, n = 0, i;
    while (at < size) {
        int32_t best = -1;
        for (i = 0; i < v->desc.n_tokens; i++) {
            const hybrid_string s = v->tokens[i];
            if (v->types[i] == HYBRID_TOKEN_NORMAL || (v->types[i] == HYBRID_TOKEN_CONTROL && !control)) continue;
            if (s.size <= size - at && !memcmp(s.data, text + at, s.size) &&
                (best < 0 || s.size > v->tokens[best].size))
                best = (int32_t)i;
        }
        if (best < 0) best = text[at] == 'a' ? 0 : 1;
        at += v->tokens[best].size;
        ids[n++] = best;
    }
    return n;
}

static void test_specials(void)
{
    uint32_t seed = 11;
    int round, k;
    TEST("special tokens in a text");
    for (round = 0; round < 400; round++) {
        heap_vocab v;
        hybrid_tokenizer *tok;
        hybrid_error error = { HYBRID_OK, 0, "" };
        char text[60];
        int32_t expected[60];
        const unsigned n_special = next_random(&seed) % 12;
        unsigned i;
        heap_vocab_make(&v, 256, 16, "bpe");
        v.desc.raw_tokens = true;
        *heap_vocab_add(&v, 1, HYBRID_TOKEN_NORMAL) = 'a';
        *heap_vocab_add(&v, 1, HYBRID_TOKEN_NORMAL) = 'b';
        for (i = 0; i < n_special; i++) {
            const size_t n = 1 + next_random(&seed) % (round & 1 ? 12 : 4);
            char *p = heap_vocab_add(&v, n, next_random(&seed) & 1 ? HYBRID_TOKEN_CONTROL : HYBRID_TOKEN_USER_DEFINED);
            size_t j;
            for (j = 0; j < n; j++) p[j] = (char)('a' + (next_random(&seed) % 4 == 0));
        }
        CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "%s", error.message);
        for (k = 0; k < 20; k++) {
            const size_t size = next_random(&seed) % sizeof text;
            const unsigned flags = k & 1 ? HYBRID_TOKENIZE_PARSE_SPECIAL : 0;
            for (i = 0; i < size; i++) text[i] = (char)('a' + (next_random(&seed) % 5 == 0));
            same_ids(tok, text, size, flags, expected, naive_specials(&v, text, size, flags != 0, expected),
                     "specials of a and b");
        }
        hybrid_tokenizer_destroy(tok);
        heap_vocab_free(&v);
    }
}

#define WORST_BYTES ((size_t)2 << 20)

/* Vocabularies of about 2 MB that were bad for this or that way to do it. */
static void worst_vocab(heap_vocab *v, int kind, bool rwkv)
{
    const hybrid_token_type type = kind < 6 && !rwkv ? HYBRID_TOKEN_USER_DEFINED : HYBRID_TOKEN_NORMAL;
    size_t i, j, n;
    char *p;
    heap_vocab_make(v, WORST_BYTES + 9000, WORST_BYTES + 16, rwkv ? "rwkv" : kind == 8 || kind == 9 ? "spm" : "bpe");
    v->desc.raw_tokens = kind != 8 && kind != 9;
    *heap_vocab_add(v, 1, HYBRID_TOKEN_NORMAL) = 'a';
    if (kind == 0) memset(heap_vocab_add(v, 8000, type), 'a', 8000);
    if (kind == 1) {
        *heap_vocab_add(v, 2, type) = 'a';
        v->bytes[2] = 'a';
        memset(heap_vocab_add(v, WORST_BYTES, type), 'a', WORST_BYTES);
        v->bytes[v->size - 1] = 'b';
    }
    /* a b, aa b, aaa b ...; b a, b aa, b aaa ... */
    for (i = 1; (kind == 2 || kind == 3) && v->size + i < WORST_BYTES; i++) {
        memset(p = heap_vocab_add(v, i + 1, type), 'a', i + 1);
        p[kind == 2 ? i : 0] = 'b';
    }
    /* a, aa, aaa ... */
    for (i = 1; (kind == 4 || kind == 8) && v->size + i < WORST_BYTES; i++)
        memset(heap_vocab_add(v, i + 1, type), 'a', i + 1);
    for (i = 0; kind == 5 && v->size < WORST_BYTES; i++) memset(heap_vocab_add(v, 2, type), 'a', 2); /* all the same */
    /* one place of hybrid 0.1.0's index: differences in the highest bits cancelled */
    for (i = 0; kind == 6 && i < 8192; i++) {
        memset(p = heap_vocab_add(v, 208, type), 'a', 208);
        for (j = 0; j < 13; j++)
            if (i >> j & 1) {
                p[16 * j + 7] ^= (char)0x80;
                p[16 * j + 15] ^= (char)0x80;
                p[16 * j + 11] ^= (char)0x80;
            }
    }
    for (i = 0; (kind == 7 || kind == 9) && v->size < WORST_BYTES; i++) /* short ones, all there are */
        for (n = 0; n < 3; n++) {
            p = heap_vocab_add(v, 3, type);
            p[0] = (char)i;
            p[1] = (char)(i >> 8);
            p[2] = (char)('a' + n);
        }
    v->desc.n_merges = 0;
}

/* Making a tokenizer takes steps in proportion to its bytes, and tokenizing in proportion to the text, for the worst
 * that is known. hybrid
 * 0.1.0 took 8000 a byte of the text for the first, and 33 million for one step of all for the seventh. */
static void test_steps(void)
{
    const size_t size = 400000;
    char *text = (char *)malloc(size);
    int32_t *ids = (int32_t *)malloc(3 * size * sizeof *ids);
    static const int of_rwkv[] = { 1, 2, 4 };
    int kind;
    TEST("time that a file can choose");
    memset(text, 'a', size);
    text[size / 2] = 'b';
    for (kind = 0; kind < 13; kind++) {
        heap_vocab v;
        hybrid_tokenizer *tok;
        hybrid_error error = { HYBRID_OK, 0, "" };
        size_t n;
        if (kind < 10)
            worst_vocab(&v, kind, false);
        else
            worst_vocab(&v, of_rwkv[kind - 10], true);
        all_steps = 0;
        CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "kind %d: %s", kind, error.message);
        CHECK(all_steps < 16 * (v.size + v.desc.n_tokens), "kind %d: %llu steps to make a vocabulary of %zu bytes",
              kind, all_steps, v.size);
        all_steps = 0;
        CHECK(!hybrid_tokenize(tok, text, size, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, 3 * size, &n, &error),
              "kind %d: %s", kind, error.message);
        CHECK(all_steps < (kind == 8 ? 160 : 24) * size, "kind %d: %llu steps for %zu bytes of text", kind, all_steps,
              size);
        hybrid_tokenizer_destroy(tok);
        heap_vocab_free(&v);
    }
    free(text);
    free(ids);
}

/* The worst merges: a table whose pairs a multiplication by a known number sends to one place. */
static void test_merge_steps(void)
{
    static int16_t to_byte[324];
    heap_vocab v;
    hybrid_tokenizer *tok;
    hybrid_error error = { HYBRID_OK, 0, "" };
    size_t i, n = 0, k;
    char character[4];
    uint32_t c;
    char *pairs = (char *)malloc(65536 * 8), *at = pairs;
    TEST("merges that collide");
    hyb_byte_spelling(to_byte);
    heap_vocab_make(&v, 1 << 20, 70000, "bpe");
    for (c = 0; c < 324; c++) {
        if (to_byte[c] < 0) continue;
        k = hyb_utf8_write(c, character);
        memcpy(heap_vocab_add(&v, k, HYBRID_TOKEN_NORMAL), character, k);
    }
    for (i = 0; i < 65536; i++) { /* every pair of bytes: ids that are dense in both halves */
        const hybrid_string a = v.tokens[i >> 8], b = v.tokens[i & 255];
        char *p = heap_vocab_add(&v, a.size + b.size, HYBRID_TOKEN_NORMAL);
        memcpy(p, a.data, a.size);
        memcpy(p + a.size, b.data, b.size);
        v.merges[n].data = at;
        v.merges[n++].size = a.size + b.size + 1;
        memcpy(at, a.data, a.size);
        at[a.size] = ' ';
        memcpy(at + a.size + 1, b.data, b.size);
        at += a.size + b.size + 1;
    }
    v.desc.n_merges = n;
    all_steps = 0;
    CHECK(hybrid_tokenizer_create(NULL, &v.desc, &tok, &error) == HYBRID_OK, "%s", error.message);
    CHECK(all_steps < 40 * n, "%llu steps for %zu merges", all_steps, n);
    CHECK(hybrid_tokenize(tok, "abc", 3, 0, NULL, 0, &n, NULL) == HYBRID_ERROR_LIMIT && n == 2, "%zu tokens", n);
    hybrid_tokenizer_destroy(tok);
    heap_vocab_free(&v);
    free(pairs);
}

static void test_stop_steps(void)
{
    enum { N = 300 };
    static char text[100000], stop_text[N + 1];
    hybrid_string stops[N], safe;
    hybrid_stop_matcher *m;
    size_t i;
    int which;
    TEST("many stop strings");
    memset(text, 'a', sizeof text);
    memset(stop_text, 'a', sizeof stop_text);
    stop_text[N] = 'b';
    for (i = 0; i < N; i++) {
        stops[i].data = stop_text + i;
        stops[i].size = N + 1 - i;
    }
    CHECK(hybrid_stop_matcher_create(NULL, stops, N, &m, NULL) == HYBRID_OK, "create");
    all_steps = 0;
    for (i = 0; i < sizeof text; i += 100) hybrid_stop_matcher_feed(m, text + i, 100, &safe, &which, NULL);
    CHECK(all_steps < 8 * sizeof text && which == -1, "%llu steps", all_steps);
    hybrid_stop_matcher_feed(m, "b", 1, &safe, &which, NULL);
    CHECK(which == 0 && safe.size == 0, "the longest: %d", which);
    hybrid_stop_matcher_destroy(m);
}

/* The polynomial by the definition, bit by bit. */
static uint64_t slow_mul(uint64_t a, uint64_t b)
{
    uint64_t r = 0;
    for (; b; b >>= 1) {
        if (b & 1) r = (r + a) % HYB_PRINT_PRIME;
        a = (a + a) % HYB_PRINT_PRIME;
    }
    return r;
}

static void test_fingerprints(void)
{
    static uint8_t text[300];
    hyb_print_point point;
    uint32_t seed = 21;
    size_t i, k, n, cut;
    TEST("fingerprints");
    for (k = 0; k < 300; k++) {
        uint64_t expected = 0,
                 secret = (uint64_t)next_random(&seed) << 40 ^ (uint64_t)next_random(&seed) << 17 ^ next_random(&seed);
        hyb_print_point_make(&point, k ? secret : UINT64_MAX);
        n = next_random(&seed) % sizeof text;
        cut = n ? next_random(&seed) % n : 0;
        for (i = 0; i < n; i++) text[i] = (uint8_t)(k % 3 ? next_random(&seed) : 255);
        for (i = 0; i < n; i++) expected = (slow_mul(expected, point.powers[1]) + text[i] + 1) % HYB_PRINT_PRIME;
        CHECK(hyb_print_of(&point, text, n) == expected, "%zu bytes", n);
        CHECK(hyb_print_join(hyb_print_of(&point, text, cut), hyb_print_power_at(&point, n - cut),
                             hyb_print_of(&point, text + cut, n - cut)) == expected,
              "%zu and %zu bytes", cut, n - cut);
    }
}

/* ---- many threads, one tokenizer --------------------------------------------------------------------------------- */

typedef struct shared_text {
    const hybrid_tokenizer *tok;
    char text[20000];
    int32_t ids[8][20008];
    size_t n[8];
} shared_text;

static void tokenize_shared(void *arg, int index, int lane)
{
    shared_text *s = (shared_text *)arg;
    HYB_UNUSED(lane);
    hybrid_tokenize(s->tok, s->text, sizeof s->text, 0, s->ids[index], 20008, &s->n[index], NULL);
}

static void test_threads(void)
{
    static shared_text s;
    hybrid_tokenizer *tok = open_vocab("ggml-vocab-gpt-2.gguf");
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    uint32_t seed = 9;
    size_t i;
    TEST("many threads");
    if (!tok) {
        SKIP("ggml-vocab-gpt-2.gguf is not in the test data");
        return;
    }
    for (i = 0; i < sizeof s.text; i++) s.text[i] = "etaoin shrdlu\n"[next_random(&seed) % 14];
    memset(&desc, 0, sizeof desc);
    desc.n_threads = 4;
    s.tok = tok;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "runtime");
    hyb_parallel(rt, 8, tokenize_shared, &s);
    for (i = 1; i < 8; i++)
        CHECK(s.n[i] == s.n[0] && s.n[0] > 1000 && !memcmp(s.ids[i], s.ids[0], s.n[0] * sizeof s.ids[0][0]),
              "thread %zu has other ids", i);
    hybrid_runtime_destroy(rt);
    hybrid_tokenizer_destroy(tok);
}

/* ---- no memory --------------------------------------------------------------------------------------------------- */

static void test_no_memory(void)
{
    static small_vocab v;
    static char text[6000];
    static int32_t ids[6000];
    hybrid_runtime_desc rd;
    hybrid_runtime *rt;
    hybrid_string stop = { "stop", 4 }, safe;
    meter m = { 1000, 0 };
    long until;
    int spm, done, which;
    size_t n, i;
    TEST("out of memory");
    memset(text, 'a', sizeof text);
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = meter_alloc;
    rd.allocator.free = meter_free;
    rd.allocator.user = &m;
    CHECK(hybrid_runtime_create(&rd, &rt, NULL) == HYBRID_OK, "runtime");
    for (i = 0; i < 3000; i += 2) memcpy(text + i, i % 300 ? "\xCC\x81" : "\xCC\xA3", 2); /* in a wrong order */
    for (spm = 0; spm < 3; spm++) {
        make_small(&v, "qwen2"); /* which normalizes */
        if (spm) v.desc.model = spm == 1 ? "spm" : "rwkv";
        for (i = 0; spm == 2 && i < v.desc.n_tokens; i++) {
            if (strcmp(v.spelling[i], "\\")) continue;
            v.tokens[i].data = "\\\\";
            v.tokens[i].size = 2;
        }
        for (until = 0, done = 0; !done && until < 100; until++) {
            hybrid_tokenizer *tok = NULL;
            hybrid_stop_matcher *stops = NULL;
            long blocks = m.blocks;
            hybrid_result r;
            m.until = until;
            if ((r = hybrid_tokenizer_create(rt, &v.desc, &tok, NULL)) == HYBRID_OK &&
                (r = hybrid_tokenize(tok, text, sizeof text, 0, ids, 6000, &n, NULL)) == HYBRID_OK &&
                (r = hybrid_stop_matcher_create(rt, &stop, 1, &stops, NULL)) == HYBRID_OK)
                r = hybrid_stop_matcher_feed(stops, "abc", 3, &safe, &which, NULL);
            done = r == HYBRID_OK;
            CHECK(done || r == HYBRID_ERROR_MEMORY, "allocation %ld fails: %s", until, hybrid_result_text(r));
            hybrid_stop_matcher_destroy(stops);
            hybrid_tokenizer_destroy(tok);
            CHECK(m.blocks == blocks, "allocation %ld fails: %ld blocks are left", until, m.blocks - blocks);
        }
        CHECK(done && until > 8, "with %ld allocations it works", until);
    }
    hybrid_runtime_destroy(rt);
    CHECK(m.blocks == 0, "%ld blocks are left", m.blocks);
}

int main(void)
{
    static const char *const vocabs[] = {
        "ggml-vocab-gpt-2.gguf", "ggml-vocab-qwen2.gguf", "ggml-vocab-falcon.gguf", "ggml-vocab-deepseek-coder.gguf",
        "ggml-vocab-llama-spm.gguf", "ggml-vocab-phi-3.gguf"
    };
    const char *sanitizer = getenv("HYBRID_SANITIZER");
    size_t i;
    if (sanitizer && !strcmp(sanitizer, "thread")) { /* what has no threads has nothing to show it */
        test_threads();
        return test_end();
    }
    for (i = 0; i < HYB_COUNT(vocabs); i++) {
        TEST("llama.cpp's vocabulary tests");
        test_llamacpp_vocab(vocabs[i]);
    }
    test_tiktoken();
    TEST("ggml's prompts");
    test_ggml_prompts("ggml-vocab-gpt-2.gguf", "ggml-prompts-gpt-2.txt");
    test_ggml_prompts("ggml-vocab-gpt-neox.gguf", "ggml-prompts-gpt-neox.txt");
    test_vocab_lines("tests/oracle/data/tok_hf.txt", false);
    test_vocab_lines("tests/oracle/data/tok_llama.txt", true);
    test_splits();
    test_names();
    test_models();
    test_roles();
    test_small();
    test_rwkv_lines();
    test_rwkv_random();
    test_rwkv_spelling();
    test_nfc();
    test_nfc_steps();
    test_nfc_case();
    test_missing_pre();
    test_round_trips();
    test_long_words();
    test_utf8();
    test_stops();
    test_fingerprints();
    test_specials();
    test_steps();
    test_merge_steps();
    test_stop_steps();
    test_threads();
    test_no_memory();
    return test_end();
}
