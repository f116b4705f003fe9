/* libFuzzer: any bytes as GBNF or as a JSON Schema, and (after a zero byte) as choices of a walk through the grammar,
 * or as a text for it. The first byte chooses which, and what allocation fails. A text that a walk through a schema's
 * grammar has written must be JSON; what is refused must say why; masks along the walk must be what each token by
 * itself says.
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_grammar.c -o fuzz_grammar -lm &&
 *     ./fuzz_grammar corpus tests/fuzz/fuzz_grammar */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static void must(bool condition)
{
    if (!condition) __builtin_trap();
}

static size_t countdown;
static void *fuzz_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    if (!countdown) return NULL;
    countdown--;
    return malloc(size);
}
static void fuzz_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

/* ---- masks ---- */

enum { N_TOKENS = 3000 };

/* A vocabulary of every byte, and of what random pieces make: made once. */
static hybrid_tokenizer *words(const hybrid_lexicon **lexicon)
{
    static const char *const pieces[] = { "a", "b", "e", "th", "x", "Z", "7", "0", " ", " the", "true", "\n",
                                          "{\"", "\": ", "\"", "\\", "\\n", "[", "]}", ",", "-", ".", "@", ":",
                                          "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F", "\x80" };
    static hybrid_tokenizer *tok;
    static hybrid_lexicon *x;
    static char text[N_TOKENS][32];
    static hybrid_string tokens[N_TOKENS];
    hybrid_tokenizer_desc d;
    uint64_t seed = 1;
    size_t i, k, n;
    if (!tok) {
        memset(&d, 0, sizeof d);
        for (i = 0; i < N_TOKENS; i++) {
            for (n = 0; i >= 256 && n < 24 && (n < 2 || (seed >> 60) < 12); n += k) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                k = strlen(pieces[(seed >> 33) % HYB_COUNT(pieces)]);
                memcpy(text[i] + n, pieces[(seed >> 33) % HYB_COUNT(pieces)], k);
            }
            if (i < 256) text[i][0] = (char)i;
            tokens[i].data = text[i];
            tokens[i].size = i < 256 ? 1 : n;
        }
        d.raw_tokens = true;
        d.tokens = tokens;
        d.n_tokens = N_TOKENS;
        must(!hybrid_tokenizer_create(NULL, &d, &tok, NULL) && !hybrid_lexicon_create(tok, &x, NULL));
    }
    *lexicon = x;
    return tok;
}

static void mask(hybrid_matcher *m)
{
    const hybrid_lexicon *x;
    const hybrid_tokenizer *tok = words(&x);
    const uint32_t *bits;
    hybrid_error err;
    size_t n;
    int32_t id;
    if (hybrid_matcher_mask(m, x, &bits, &n, &err)) {
        must(err.result == HYBRID_ERROR_MEMORY || err.result == HYBRID_ERROR_LIMIT);
        return;
    }
    must(n == (N_TOKENS + 31) / 32);
    for (id = 0; id < N_TOKENS; id++) {
        const hybrid_string s = hybrid_token_bytes(tok, id);
        uint32_t at = m->state, next = 1;
        hybrid_result r = HYBRID_OK;
        size_t i;
        for (i = 0; i < s.size && !r && next; i++, at = next)
            r = hyb_match_next(&m->match, at, (uint8_t)s.data[i], &next, NULL);
        if (!r && !hybrid_token_is_end(tok, id) && hybrid_token_kind(tok, id) == HYBRID_TOKEN_NORMAL)
            must((bits[id / 32] >> id % 32 & 1) == (next != HYB_MATCH_DEAD));
    }
}

/* The text that the choices lead to; each byte chooses one of those that may follow. */
static size_t walk(hybrid_matcher *m, const uint8_t *choices, size_t n, char *text)
{
    const hyb_rules *rules = m->match.rules;
    size_t size = 0;
    uint32_t next;
    for (; size < n; size++) {
        unsigned k, count = 0, chosen;
        for (k = 0; k < rules->n_classes; k++)
            count += !hyb_match_next(&m->match, m->state, rules->class_byte[k], &next, NULL) && next != HYB_MATCH_DEAD;
        if (!count) break;
        chosen = choices[size] % count;
        for (k = 0; k < rules->n_classes; k++)
            if (!hyb_match_next(&m->match, m->state, rules->class_byte[k], &next, NULL) && next != HYB_MATCH_DEAD &&
                !chosen--)
                break;
        if (k == rules->n_classes) break; /* a table was full */
        if (size < 4 || size % 16 == 0) mask(m);
        text[size] = (char)rules->class_byte[k];
        if (hybrid_matcher_accept(m, text + size, 1, NULL)) break;
    }
    return size;
}

static void follow(hybrid_runtime *rt, hybrid_grammar *g, const uint8_t *data, size_t size, bool schema)
{
    hybrid_matcher *m;
    hybrid_error err;
    hyb_json_doc doc;
    char *text = (char *)malloc(size + 1), forced[64];
    size_t n;
    if (!hybrid_matcher_create(g, &m, &err)) {
        n = walk(m, data, size, text);
        must(hybrid_matcher_forced(m, forced, sizeof forced) <= sizeof forced);
        if (schema && hybrid_matcher_can_end(m) && !hyb_json_parse(rt, text, n, 100000, 100000, &doc, &err))
            hyb_json_free(&doc);
        else if (schema && hybrid_matcher_can_end(m))
            must(err.result == HYBRID_ERROR_MEMORY || err.result == HYBRID_ERROR_LIMIT);
        hybrid_matcher_reset(m);
        if (hybrid_matcher_accept(m, data, size, &err)) must(err.message[0] != 0);
        hybrid_matcher_destroy(m);
    } else
        must(err.result == HYBRID_ERROR_MEMORY || err.result == HYBRID_ERROR_LIMIT);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hybrid_runtime_desc rd;
    hybrid_grammar_desc d;
    hybrid_runtime *rt;
    hybrid_grammar *g;
    hybrid_error err;
    hybrid_result r;
    const uint8_t *zero;
    const bool schema = size && (data[0] & 1);
    size_t n;
    if (size < 2 || !data[1]) return 0;
    zero = (const uint8_t *)memchr(data + 1, 0, size - 1);
    n = zero ? (size_t)(zero - data) - 1 : size - 1;
    memset(&rd, 0, sizeof rd);
    memset(&d, 0, sizeof d);
    rd.allocator.alloc = fuzz_alloc;
    rd.allocator.free = fuzz_free;
    rd.n_threads = 1;
    countdown = SIZE_MAX;
    must(!hybrid_runtime_create(&rd, &rt, NULL));
    *(schema ? &d.schema : &d.gbnf) = (const char *)data + 1;
    *(schema ? &d.schema_size : &d.gbnf_size) = n;
    if (data[0] >> 4) countdown = (size_t)(data[0] >> 4) * (data[0] & 2 ? 40 : 7);
    r = hybrid_grammar_create(rt, &d, &g, &err);
    must(r ? !g && err.result == r && err.message[0] : g != NULL);
    if (!r) follow(rt, g, data + 1 + n + (zero != NULL), size - 1 - n - (zero != NULL), schema);
    hybrid_grammar_destroy(g);
    countdown = SIZE_MAX;
    hybrid_runtime_destroy(rt);
    return 0;
}
