/* libFuzzer: any bytes as a vocabulary (in memory, or a GGUF file with one) and a text. What can be made must tokenize
 * without reading or writing where it should not, give the same ids however it is asked, and (where every byte has a
 * token) give the text back.
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_tokenizer.c -o fuzz_tokenizer -lm &&
 *     ./fuzz_tokenizer corpus tests/fuzz/fuzz_tokenizer */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static void must(bool condition)
{
    if (!condition) __builtin_trap();
}

#define MAX_TOKENS 400

/* Every way to ask about a text. round_trip: all bytes have tokens, none are special. */
static void ask(const hybrid_tokenizer *tok, const char *text, size_t size, unsigned flags, bool round_trip)
{
    size_t room = 3 * size + 3, n, m, k, bytes, few;
    int32_t *ids = (int32_t *)malloc(room * sizeof *ids), *again = (int32_t *)malloc(room * sizeof *again);
    char *back;
    must(hybrid_tokenize(tok, text, size, flags, ids, room, &n, NULL) == HYBRID_OK && n <= room);
    few = n / 2;
    must(hybrid_tokenize(tok, text, size, flags, again, few, &m, NULL) == (n ? HYBRID_ERROR_LIMIT : HYBRID_OK) &&
         m == n);
    must(!few || !memcmp(ids, again, few * sizeof *ids));
    for (k = 0; k < n; k++) {
        must(ids[k] >= 0 && ids[k] < hybrid_vocab_size(tok));
        must(hybrid_token_bytes(tok, ids[k]).size > 0);
        (void)hybrid_token_is_end(tok, ids[k]);
    }
    hybrid_detokenize(tok, ids, n, HYBRID_DETOKENIZE_SPECIAL, NULL, 0, &bytes, NULL);
    back = (char *)malloc(bytes + 1);
    must(hybrid_detokenize(tok, ids, n, HYBRID_DETOKENIZE_SPECIAL, back, bytes, &m, NULL) == HYBRID_OK && m == bytes);
    if (round_trip) must(bytes == size && !memcmp(back, text, size));
    free(back);
    free(ids);
    free(again);
}

/* The text in pieces through the streams. */
static void stream(const char *text, size_t size, size_t step)
{
    hybrid_utf8_stream whole = { { 0 }, 0 }, pieces = { { 0 }, 0 };
    hybrid_string stops[2], safe;
    hybrid_stop_matcher *m;
    char *a = (char *)malloc(HYBRID_UTF8_ROOM(size) + 9), *b = (char *)malloc(HYBRID_UTF8_ROOM(size) + 9);
    size_t i, n = 0, shown = 0, k;
    int which = -1;
    k = hybrid_utf8_feed(&whole, text, size, a);
    k += hybrid_utf8_flush(&whole, a + k);
    for (i = 0; i < size; i += step) n += hybrid_utf8_feed(&pieces, text + i, HYB_MIN(step, size - i), b + n);
    n += hybrid_utf8_flush(&pieces, b + n);
    must(n == k && !memcmp(a, b, n));
    free(a);
    free(b);
    if (size < 8) return;
    stops[0].data = text + size / 2;
    stops[0].size = 1 + step % 3;
    stops[1].data = text + size / 3;
    stops[1].size = 2;
    must(hybrid_stop_matcher_create(NULL, stops, 2, &m, NULL) == HYBRID_OK);
    for (i = 0; i < size && which < 0; i += step) {
        must(hybrid_stop_matcher_feed(m, text + i, HYB_MIN(step, size - i), &safe, &which, NULL) == HYBRID_OK);
        must(!safe.size || !memcmp(safe.data, text + shown, safe.size));
        shown += safe.size;
    }
    must(which >= 0 && !memcmp(text + shown, stops[which].data, stops[which].size)); /* they are in the text */
    hybrid_stop_matcher_destroy(m);
}

static void memory_vocabulary(const uint8_t *p, const uint8_t *end)
{
    static const char *const pres[] = { "gpt-2",   "llama-bpe",      "qwen2",        "qwen35",
                                        "gpt-4o",  "tekken",         "starcoder",    "falcon",
                                        "default", "deepseek-coder", "deepseek-llm", "deepseek-v3" };
    static uint8_t types[MAX_TOKENS], single[256];
    static float scores[MAX_TOKENS];
    static hybrid_string tokens[MAX_TOKENS], merges[MAX_TOKENS];
    hybrid_tokenizer_desc desc;
    hybrid_tokenizer *tok;
    bool round_trip, rwkv;
    unsigned flags;
    size_t i;
    if (end - p < 4) return;
    memset(&desc, 0, sizeof desc);
    rwkv = (p[0] & 3) == 3;
    desc.model = rwkv ? "rwkv" : p[0] & 1 ? "spm" : "bpe";
    desc.raw_tokens = (p[0] & 2) != 0;
    desc.add_bos = (p[0] & 4) != 0;
    desc.no_space_prefix = (p[0] & 8) != 0;
    desc.strip_right = (p[0] & 16) != 0;
    flags = p[0] >> 5 & 3;
    desc.pre = pres[p[1] % HYB_COUNT(pres)];
    round_trip = desc.raw_tokens && (rwkv || !(p[0] & 1)) && !(flags & 1) && !desc.strip_right;
    desc.tokens = tokens;
    desc.types = types;
    desc.scores = p[0] & 128 ? scores : NULL;
    desc.merges = merges;
    for (i = 0; desc.raw_tokens && i < 256; i++) { /* every byte */
        single[i] = (uint8_t)i;
        tokens[i].data = (const char *)&single[i];
        tokens[i].size = 1;
        types[i] = HYBRID_TOKEN_NORMAL;
        scores[i] = 0;
        desc.n_tokens++;
    }
    if (rwkv) {
        tokens['\\'].data = "\\\\";
        tokens['\\'].size = 2;
    }
    for (p += 2; p < end && *p && desc.n_tokens < MAX_TOKENS; desc.n_tokens++) { /* size and type, bytes; zero ends */
        i = *p & 15;
        types[desc.n_tokens] = (uint8_t)(*p >> 4 & 7);
        p++;
        if ((size_t)(end - p) < i) i = (size_t)(end - p);
        tokens[desc.n_tokens].data = (const char *)p;
        tokens[desc.n_tokens].size = i;
        memset(&scores[desc.n_tokens], i ? p[0] : 0, sizeof *scores);
        p += i;
    }
    p += p < end;
    for (; p < end && *p && desc.n_merges < MAX_TOKENS; desc.n_merges++) {
        i = *p++ & 15;
        if ((size_t)(end - p) < i) i = (size_t)(end - p);
        merges[desc.n_merges].data = (const char *)p;
        merges[desc.n_merges].size = i;
        p += i;
    }
    p += p < end;
    if (hybrid_tokenizer_create(NULL, &desc, &tok, NULL) != HYBRID_OK) return;
    ask(tok, (const char *)p, (size_t)(end - p), flags, round_trip);
    stream((const char *)p, (size_t)(end - p), 1 + (size_t)(end - p) % 7);
    hybrid_tokenizer_destroy(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char known[] = "<|im_end|> hello\n  the \xE6\x97\xA5 3.14";
    hybrid_source source;
    hybrid_gguf *gguf;
    hybrid_tokenizer *tok;
    if (size < 4 || memcmp(data, "GGUF", 4)) {
        memory_vocabulary(data, data + size);
        return 0;
    }
    memset(&source, 0, sizeof source);
    source.data = data;
    source.size = size;
    if (hybrid_gguf_open(NULL, &source, &gguf, NULL) != HYBRID_OK) return 0;
    if (hybrid_tokenizer_from_gguf(NULL, gguf, &tok, NULL) == HYBRID_OK) {
        ask(tok, (const char *)data, HYB_MIN(size, 500), 3, false);
        ask(tok, known, sizeof known - 1, 3, false);
        hybrid_tokenizer_destroy(tok);
    }
    hybrid_gguf_destroy(gguf);
    return 0;
}
