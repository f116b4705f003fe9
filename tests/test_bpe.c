/* Vocabularies from raw text: merges of HF tokenizers and of the algorithm word for word (tests/oracle/make_bpe.py),
 * Stanford CS336's reference, a slow trainer on random texts; documents out of files, readers and memory; work and
 * memory on hostile texts; failures; files for other tools. */
#include "chosen.h"
#include "private.h"
#include "meter.h"

static uint32_t seed = 1;
static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

typedef struct bytes {
    char *data;
    size_t size, room;
} bytes;

static bool bytes_add(void *user, const void *data, size_t n)
{
    bytes *b = (bytes *)user;
    if (b->size + n > b->room) b->data = (char *)realloc(b->data, b->room = 2 * (b->size + n) + 64);
    if (n) memcpy(b->data + b->size, data, n);
    b->size += n;
    return true;
}

static hybrid_source source_of(const void *data, size_t size)
{
    hybrid_source s;
    memset(&s, 0, sizeof s);
    s.data = data;
    s.size = size;
    return s;
}

/* The lines of merges.txt, without the first. */
static bytes merges_of(const hybrid_tokenizer *tok)
{
    bytes b = { NULL, 0, 0 };
    hybrid_error e = { HYBRID_OK, 0, "" };
    CHECK(!hybrid_tokenizer_write(tok, HYBRID_TOKENIZER_MERGES, bytes_add, &b, &e), "%s", e.message);
    CHECK(b.size >= 14 && !memcmp(b.data, "#version: 0.2\n", 14), "the first line");
    memmove(b.data, b.data + 14, b.size - 14);
    b.size -= 14;
    return b;
}

static void same_bytes(const char *what, const char *ours, size_t n_ours, const char *theirs, size_t n_theirs)
{
    size_t i = 0, line = 1;
    while (i < n_ours && i < n_theirs && ours[i] == theirs[i]) line += ours[i++] == '\n';
    CHECK(n_ours == n_theirs && i == n_ours, "%s: line %zu is '%.*s', should be '%.*s'", what, line,
          (int)(n_ours - i < 20 ? n_ours - i : 20), ours + i, (int)(n_theirs - i < 20 ? n_theirs - i : 20), theirs + i);
}

/* ---- other people's vocabularies --------------------------------------------------------------------------------- */

static char *unhex(const char *p, const char *end, size_t *n)
{
    char *out = (char *)malloc((size_t)(end - p) / 2 + 1), pair[3] = "";
    for (*n = 0; p + 1 < end; p += 2) {
        memcpy(pair, p, 2);
        out[(*n)++] = (char)strtol(pair, NULL, 16);
    }
    out[*n] = 0;
    return out;
}

enum { MOST = 8 };

/* Strings between commas; the number of them. */
static size_t unhex_list(const char *p, char *out[MOST], size_t size[MOST])
{
    size_t n = 0;
    if (*p == '-') return 0;
    for (;; p++) {
        const char *end = p + strcspn(p, ",");
        out[n] = unhex(p, end, &size[n]);
        n++;
        if (!*(p = end)) return n;
    }
}

static void check_line(char *field[11])
{
    char *specials[MOST], *texts[MOST], *merges, *text, what[80];
    size_t special_size[MOST], text_size[MOST], n_merges, n_text, n, i;
    hybrid_source sources[MOST];
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok;
    hybrid_error e = { HYBRID_OK, 0, "" };
    int32_t *ids;
    bytes ours;
    char *p = field[10];
    snprintf(what, sizeof what, "%s, %s", field[0], field[1]);
    memset(&desc, 0, sizeof desc);
    desc.ties = strcmp(field[1], "ids") ? HYBRID_BPE_TIES_BYTES : HYBRID_BPE_TIES_IDS;
    desc.vocab_size = atoi(field[2]);
    desc.min_frequency = (uint64_t)atoi(field[3]);
    desc.max_token_bytes = (size_t)atoi(field[4]);
    desc.pre = field[5];
    desc.n_specials = unhex_list(field[6], specials, special_size);
    desc.specials = (const char *const *)specials;
    desc.n_texts = unhex_list(field[7], texts, text_size);
    for (i = 0; i < desc.n_texts; i++) sources[i] = source_of(texts[i], text_size[i]);
    desc.texts = sources;
    merges = unhex(field[8], field[8] + strlen(field[8]), &n_merges);
    text = unhex(field[9], field[9] + strlen(field[9]), &n_text);
    CHECK(!hybrid_bpe_train(NULL, &desc, &tok, NULL, &e), "%s: %s", what, e.message);
    ours = merges_of(tok);
    same_bytes(what, ours.data, ours.size, merges, n_merges);
    ids = (int32_t *)malloc((n_text + 3) * sizeof *ids);
    CHECK(!hybrid_tokenize(tok, text, n_text, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, n_text + 3, &n, &e), "%s", e.message);
    for (i = 0; *p; i++) {
        const long id = strtol(p, &p, 10);
        if (i < n && ids[i] != id) break;
    }
    CHECK(!*p && i == n, "%s: id %zu of %zu is another", what, i, n);
    for (i = 0; i < desc.n_specials; i++) free(specials[i]);
    for (i = 0; i < desc.n_texts; i++) free(texts[i]);
    free(merges);
    free(text);
    free(ids);
    free(ours.data);
    hybrid_tokenizer_destroy(tok);
}

static void test_lines(void)
{
    char *all = read_file("tests/oracle/data/bpe.txt", NULL), *line = all, *field[11];
    size_t n = 0;
    int k;
    TEST("vocabularies of others");
    CHECK(all, "tests/oracle/data/bpe.txt is not there");
    for (; all && *line; n++) {
        char *next = strchr(line, '\n');
        *next = 0;
        for (k = 0; k < 11; k++) {
            field[k] = line;
            line += strcspn(line, "\t");
            if (*line) *line++ = 0;
        }
        check_line(field);
        line = next + 1;
    }
    CHECK(n == 34, "%zu cases", n);
    free(all);
}

/* Stanford CS336's corpus.en; and its vocabulary, which numbers tokens as ours does. */
static void test_reference(void)
{
    size_t n, i;
    char *right = read_file(data_path("tokenizer/bpe-train/train-bpe-reference-merges.txt"), &n);
    char *vocab = read_file(data_path("tokenizer/bpe-train/train-bpe-reference-vocab.json"), NULL);
    hybrid_runtime *rt;
    hyb_json_doc docs[2];
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok;
    hybrid_error e = { HYBRID_OK, 0, "" };
    bytes ours;
    TEST("Stanford CS336's reference");
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    if (!right || !vocab || !(source.path = data_path("tokenizer/bpe-train/corpus.en"))) {
        SKIP("bpe-train is not in the test data");
        free(right);
        free(vocab);
        return;
    }
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 500;
    CHECK(!hybrid_bpe_train(NULL, &desc, &tok, NULL, &e), "%s", e.message);
    ours = merges_of(tok);
    same_bytes("merges", ours.data, ours.size, right, n);
    free(ours.data);
    memset(&ours, 0, sizeof ours);
    CHECK(!hybrid_tokenizer_write(tok, HYBRID_TOKENIZER_VOCAB, bytes_add, &ours, &e), "%s", e.message);
    CHECK(!hyb_runtime_retain(NULL, &rt, &e), "%s", e.message);
    CHECK(!hyb_json_parse(rt, ours.data, ours.size, 3, 9999, &docs[0], &e), "%s", e.message);
    CHECK(!hyb_json_parse(rt, vocab, strlen(vocab), 3, 9999, &docs[1], &e), "%s", e.message);
    CHECK(docs[0].count == 1001 && docs[1].count == 1001, "%zu and %zu nodes", docs[0].count, docs[1].count);
    for (i = 0; i < 1001 && i < docs[0].count && i < docs[1].count; i++) {
        const hyb_json *x = &docs[0].root[i], *y = &docs[1].root[i];
        CHECK(x->type == y->type && x->n == y->n, "node %zu of the vocabulary", i);
        if (x->type == HYB_JSON_STRING) CHECK(!strcmp(x->u.s, y->u.s), "%s should be %s", x->u.s, y->u.s);
        if (x->type == HYB_JSON_INT) CHECK(x->u.i == y->u.i, "token %zu", i);
    }
    hyb_json_free(&docs[0]);
    hyb_json_free(&docs[1]);
    hyb_runtime_release(rt);
    free(ours.data);
    free(right);
    free(vocab);
    hybrid_tokenizer_destroy(tok);
}

/* ---- a slow trainer ---------------------------------------------------------------------------------------------- */

enum { SLOW_WORDS = 64, SLOW_SIZE = 24, SLOW_TOKENS = 200 };
typedef struct slow {
    int word[SLOW_WORDS][SLOW_SIZE], size[SLOW_WORDS], n_words;
    char token[SLOW_TOKENS][2 * SLOW_SIZE]; /* the first 128: the bytes of ASCII */
    int n_tokens, merges[SLOW_TOKENS][2];
} slow;

/* Everything is counted anew before each merge. The texts are of letters and spaces: 'a' follows ' ' in both orders. */
static void slow_train(slow *s, int n_merges, long least, size_t longest, bool by_ids)
{
    while (s->n_tokens - 128 < n_merges) {
        static long count[SLOW_TOKENS][SLOW_TOKENS];
        int w, i, k, a, b, best[2] = { -1, -1 };
        memset(count, 0, sizeof count);
        for (w = 0; w < s->n_words; w++)
            for (i = 0; i + 1 < s->size[w]; i++) count[s->word[w][i]][s->word[w][i + 1]]++;
        for (a = 0; a < s->n_tokens; a++)
            for (b = 0; b < s->n_tokens; b++) {
                const long most = best[0] < 0 ? 0 : count[best[0]][best[1]];
                int order = best[0] < 0 ? 1 : strcmp(s->token[a], s->token[best[0]]);
                if (best[0] >= 0 && !order) order = strcmp(s->token[b], s->token[best[1]]);
                if (!count[a][b] || count[a][b] < least || count[a][b] < most) continue;
                if (longest && strlen(s->token[a]) + strlen(s->token[b]) > longest) continue;
                if (count[a][b] == most && (by_ids || order < 0)) continue; /* of equal ids the first is taken */
                best[0] = a;
                best[1] = b;
            }
        if (best[0] < 0) return;
        a = s->n_tokens++;
        for (k = 0; k < 2; k++) strcat(s->token[a], s->token[best[k]]);
        memcpy(s->merges[a - 128], best, sizeof best);
        for (w = 0; w < s->n_words; w++) {
            for (i = k = 0; i < s->size[w]; k++) {
                const bool pair = i + 1 < s->size[w] && s->word[w][i] == best[0] && s->word[w][i + 1] == best[1];
                s->word[w][k] = pair ? a : s->word[w][i];
                i += pair ? 2 : 1;
            }
            s->size[w] = k;
        }
    }
}

static void test_random(void)
{
    static slow s;
    static char text[SLOW_WORDS * SLOW_SIZE];
    int round, i, k;
    TEST("random texts");
    for (round = 0; round < 600; round++) {
        const int letters = 1 + (int)(next_random() % 4), size = 1 + (int)(next_random() % (SLOW_SIZE - 1));
        hybrid_source source;
        hybrid_bpe_desc desc;
        hybrid_tokenizer *tok;
        hybrid_error e = { HYBRID_OK, 0, "" };
        bytes ours, right = { NULL, 0, 0 };
        size_t n = 0;
        memset(&s, 0, sizeof s);
        memset(&desc, 0, sizeof desc);
        s.n_words = 1 + (int)(next_random() % (SLOW_WORDS - 1));
        for (i = 0; i < s.n_words; i++) {
            const int from = (int)n;
            if (i) text[n++] = ' ';
            for (k = 1 + (int)(next_random() % (unsigned)size); k; k--)
                text[n++] = (char)('a' + next_random() % (unsigned)letters);
            for (k = from; k < (int)n; k++) s.word[i][s.size[i]++] = text[k];
        }
        for (s.n_tokens = 0; s.n_tokens < 128; s.n_tokens++) s.token[s.n_tokens][0] = (char)s.n_tokens;
        desc.min_frequency = next_random() % 4;
        desc.max_token_bytes = next_random() % 3 ? 0 : 1 + next_random() % 9;
        desc.ties = next_random() % 2 ? HYBRID_BPE_TIES_IDS : HYBRID_BPE_TIES_BYTES;
        desc.vocab_size = 257 + (int32_t)(next_random() % 70);
        /* by their spelling: a space, which is spelled U+0120, has a higher id than the letters */
        if (desc.ties == HYBRID_BPE_TIES_IDS)
            for (i = 0; i < s.n_words; i++)
                for (k = 0; k < s.size[i]; k++)
                    if (s.word[i][k] == ' ') s.word[i][k] = 'z' + 1;
        s.token['z' + 1][0] = ' ';
        slow_train(&s, desc.vocab_size - 257, (long)desc.min_frequency, desc.max_token_bytes,
                   desc.ties == HYBRID_BPE_TIES_IDS);
        for (i = 0; i < s.n_tokens - 128; i++)
            for (k = 0; k < 2; k++) {
                const char *p = s.token[s.merges[i][k]];
                for (; *p; p++) bytes_add(&right, *p == ' ' ? "\xC4\xA0" : p, *p == ' ' ? 2 : 1);
                bytes_add(&right, k ? "\n" : " ", 1);
            }
        source = source_of(text, n);
        desc.texts = &source;
        desc.n_texts = 1;
        CHECK(!hybrid_bpe_train(NULL, &desc, &tok, NULL, &e), "%s", e.message);
        ours = merges_of(tok);
        same_bytes("random", ours.data, ours.size, right.data ? right.data : "", right.size);
        free(ours.data);
        free(right.data);
        hybrid_tokenizer_destroy(tok);
    }
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

typedef struct tape {
    const char *data;
    int opened, closed, fail_at; /* fail_at: the read that fails, counted from 1; 0: none */
    int reads;
} tape;

static bool tape_read(void *user, uint64_t offset, void *dst, size_t n)
{
    tape *t = (tape *)user;
    if (++t->reads == t->fail_at) return false;
    memcpy(dst, t->data + offset, n);
    return true;
}
static void tape_close(void *user) { ((tape *)user)->closed++; }

static hybrid_source tape_source(tape *t, const char *text, size_t size)
{
    hybrid_source s;
    memset(&s, 0, sizeof s);
    memset(t, 0, sizeof *t);
    t->data = text;
    s.reader.read_at = tape_read;
    s.reader.close = tape_close;
    s.reader.size = size;
    s.reader.user = t;
    return s;
}

static const char *const few_specials[] = { "<|a|>", "<|a|>b", "##", "#x#", "\xE2\x98\x83", "q##z" };

/* What documents gives of a source, in one line: "text" [special] "text" [-1]... */
static bytes documents_of(const hybrid_source *sources, size_t n_sources)
{
    hyb_budget memory;
    hyb_documents d;
    hyb_document document;
    hybrid_string specials[HYB_COUNT(few_specials)];
    hybrid_error e = { HYBRID_OK, 0, "" };
    bytes out = { NULL, 0, 0 };
    bool more = true;
    size_t i;
    for (i = 0; i < HYB_COUNT(few_specials); i++) {
        specials[i].data = few_specials[i];
        specials[i].size = strlen(few_specials[i]);
    }
    memset(&memory, 0, sizeof memory);
    CHECK(!hyb_runtime_retain(NULL, &memory.rt, &e), "%s", e.message);
    CHECK(!hyb_documents_make(&d, &memory, sources, n_sources, specials, HYB_COUNT(few_specials), &e), "%s", e.message);
    while (!hyb_documents_next(&d, &document, &more, &e) && more) {
        char mark[16];
        bytes_add(&out, document.text, document.size);
        bytes_add(&out, mark, (size_t)snprintf(mark, sizeof mark, "[%d]", document.special));
    }
    CHECK(!e.result, "%s", e.message);
    hyb_documents_free(&d);
    CHECK(!memory.used, "%d bytes are left", (int)memory.used);
    hyb_runtime_release(memory.rt);
    return out;
}

/* The same by looking for every special token at every byte. */
static bytes slow_documents(const char *text, size_t size)
{
    bytes out = { NULL, 0, 0 };
    char mark[16];
    size_t at, i;
    for (at = 0; at < size;) {
        int best = -1;
        for (i = 0; i < HYB_COUNT(few_specials); i++) {
            const size_t n = strlen(few_specials[i]);
            if (size - at >= n && !memcmp(text + at, few_specials[i], n) &&
                (best < 0 || n > strlen(few_specials[best])))
                best = (int)i;
        }
        if (best < 0) {
            bytes_add(&out, text + at++, 1);
            continue;
        }
        bytes_add(&out, mark, (size_t)snprintf(mark, sizeof mark, "[%d]", best));
        at += strlen(few_specials[best]);
    }
    bytes_add(&out, "[-1]", 4);
    return out;
}

static void test_documents(void)
{
    static const char *const parts[] = {
        "<|a|>", "<|a|>b", "##", "#", "<|", "x#", "\xE2\x98\x83", "\xE2\x98", "ab", "q", "z", ""
    };
    char text[200];
    int round, i;
    TEST("documents");
    for (round = 0; round < 500; round++) {
        hybrid_source source;
        bytes right, in_memory, in_file;
        size_t n = 0;
        tape t;
        for (i = (int)(next_random() % 20); i; i--)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", parts[next_random() % HYB_COUNT(parts)]);
        right = slow_documents(text, n);
        source = source_of(text, n);
        in_memory = documents_of(&source, 1);
        source = tape_source(&t, text, n);
        in_file = documents_of(&source, 1);
        CHECK(t.closed == 1, "closed %d times", t.closed);
        same_bytes("memory", in_memory.data, in_memory.size, right.data, right.size);
        same_bytes("file", in_file.data, in_file.size, right.data, right.size);
        free(right.data);
        free(in_memory.data);
        free(in_file.data);
    }
}

/* Every reader is closed once, whatever happens. */
static void test_readers(void)
{
    static const char text[] = "one two three two three three<|endoftext|>three two";
    hybrid_source sources[3];
    tape tapes[3];
    hybrid_bpe_desc desc;
    int fail, which, i;
    TEST("readers");
    for (fail = 0; fail < 12; fail++)
        for (which = 0; which < 3; which++) {
            hybrid_tokenizer *tok;
            hybrid_error e = { HYBRID_OK, 0, "" };
            hybrid_result r;
            for (i = 0; i < 3; i++) sources[i] = tape_source(&tapes[i], text, sizeof text - 1);
            tapes[which].fail_at = fail;
            memset(&desc, 0, sizeof desc);
            desc.texts = sources;
            desc.n_texts = 3;
            if (fail == 10) desc.vocab_size = 5;
            if (fail == 11) desc.pre = "none";
            r = hybrid_bpe_train(NULL, &desc, &tok, NULL, &e);
            CHECK((r == HYBRID_OK) == (fail == 0 || fail == 9), "read %d of %d fails: %d %s", fail, which, r,
                  e.message);
            if (fail && fail < 9) {
                char say[16];
                snprintf(say, sizeof say, "text %d:", which);
                CHECK(r == HYBRID_ERROR_IO && !strncmp(e.message, say, 7), "%s", e.message);
            }
            for (i = 0; i < 3; i++) CHECK(tapes[i].closed == 1, "reader %d is closed %d times", i, tapes[i].closed);
            CHECK(!tok == !!r, "a tokenizer");
            hybrid_tokenizer_destroy(tok);
        }
}

typedef struct shrinking {
    const char *path;
    int calls;
} shrinking;

static bool cut_file(void *user, float fraction)
{
    shrinking *s = (shrinking *)user;
    FILE *f;
    HYB_UNUSED(fraction);
    if (s->calls++ == 3 && (f = fopen(s->path, "wb")) != NULL) fclose(f);
    return true;
}

static void test_files(void)
{
    static const char path[] = "build/tests/bpe-text.tmp";
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok;
    hybrid_error e = { HYBRID_OK, 0, "" };
    shrinking s;
    FILE *f = fopen(path, "wb");
    int i;
    TEST("files");
    if (!f) {
        SKIP("%s cannot be written", path);
        return;
    }
    for (i = 0; i < 3000; i++) fprintf(f, "line %d<|endoftext|>", i);
    fclose(f);
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.path = path;
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 300;
    CHECK(!hybrid_bpe_train(NULL, &desc, &tok, NULL, &e), "%s", e.message);
    CHECK(hybrid_vocab_size(tok) == 300, "%d tokens", (int)hybrid_vocab_size(tok));
    hybrid_tokenizer_destroy(tok);
    s.path = path;
    s.calls = 0;
    desc.progress = cut_file;
    desc.user = &s;
    CHECK(hybrid_bpe_train(NULL, &desc, &tok, NULL, &e) == HYBRID_ERROR_IO && strstr(e.message, "bpe-text.tmp"),
          "a file that gets shorter: %d %s", e.result, e.message);
    remove(path);
    CHECK(hybrid_bpe_train(NULL, &desc, &tok, NULL, &e) == HYBRID_ERROR_IO && !tok, "%s", e.message);
}

/* ---- work and memory --------------------------------------------------------------------------------------------- */

enum { HOSTILE = 400000 };
static char hostile[HOSTILE + 64];

/* Fills hostile; NULL: there is no such kind. */
static const char *make_hostile(int kind, size_t *size)
{
    static const char *const names[] = { "one letter",
                                         "two letters at random, no space",
                                         "words that all differ",
                                         "ab",
                                         "Fibonacci's word",
                                         "spaces",
                                         "beginnings of a special token",
                                         "all bytes",
                                         "one word, sorted",
                                         "digits",
                                         "squares" };
    size_t n = 0, a = 1, b = 2, k;
    if (kind >= (int)HYB_COUNT(names)) return NULL;
    while (n < HOSTILE) {
        switch (kind) {
        case 0: hostile[n++] = 'a'; break;
        case 1: hostile[n++] = (char)('a' + next_random() % 2); break;
        case 2: n += (size_t)sprintf(hostile + n, " %x", next_random() % 0xFFFFF); break;
        case 3: hostile[n] = "ab"[n & 1], n++; break;
        case 4:
            if (!n) memcpy(hostile, "ab", n = 2);
            k = HYB_MIN(a, HOSTILE - n);
            memcpy(hostile + n, hostile, k);
            n += k;
            k = a + b, a = b, b = k;
            break;
        case 5: hostile[n++] = ' '; break;
        case 6: n += (size_t)sprintf(hostile + n, "<|endoftext|"); break;
        case 7: hostile[n++] = (char)(next_random() >> 3); break;
        case 8: hostile[n] = (char)('z' - n * 26 / (HOSTILE + 1)), n++; break;
        case 9: hostile[n++] = (char)('0' + next_random() % 10); break;
        default:
            for (k = a++; k && n < HOSTILE; k--) hostile[n++] = 'q';
            hostile[n++] = (char)('a' + a % 7);
        }
    }
    *size = n;
    return names[kind];
}

/* Pairs that will never be merged are forgotten when their last place is gone. */
static void test_seldom_pairs(void)
{
    size_t size;
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_bpe_info info;
    hybrid_tokenizer *tok;
    hybrid_error e = { HYBRID_OK, 0, "" };
    TEST("pairs that come too seldom");
    make_hostile(9, &size);
    source = source_of(hostile, size);
    memset(&desc, 0, sizeof desc);
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 20000;
    desc.min_frequency = 3;
    CHECK(!hybrid_bpe_train(NULL, &desc, &tok, &info, &e), "%s", e.message);
    CHECK(info.peak_bytes < 42 * size, "%.1f bytes for each", (double)info.peak_bytes / (double)size);
    hybrid_tokenizer_destroy(tok);
}

static void test_steps(void)
{
    const char *name;
    size_t size;
    int kind;
    TEST("steps and bytes on hostile texts");
    for (kind = 0; (name = make_hostile(kind, &size)) != NULL; kind++) {
        hybrid_source source = source_of(hostile, size);
        hybrid_bpe_desc desc;
        hybrid_bpe_info info;
        hybrid_tokenizer *tok;
        hybrid_error e = { HYBRID_OK, 0, "" };
        memset(&desc, 0, sizeof desc);
        desc.texts = &source;
        desc.n_texts = 1;
        desc.vocab_size = 6000;
        /* where pairs come once, one token may grow at every merge: then the vocabulary itself is that much text */
        desc.max_token_bytes = kind == 8 || kind == 10 ? 300 : 0;
        desc.ties = kind & 1 ? HYBRID_BPE_TIES_IDS : HYBRID_BPE_TIES_BYTES;
        all_steps = 0;
        CHECK(!hybrid_bpe_train(NULL, &desc, &tok, &info, &e), "%s: %s", name, e.message);
        CHECK(all_steps < 16 * size, "%s: %llu steps for %zu bytes", name, all_steps, size);
        CHECK(info.peak_bytes < 40 * size + (4 << 20), "%s: %llu bytes for %zu", name,
              (unsigned long long)info.peak_bytes, size);
        if (getenv("HYBRID_VERBOSE"))
            printf("%s: %.1f steps, %.1f bytes for each; %d tokens\n", name, (double)all_steps / (double)size,
                   (double)info.peak_bytes / (double)size, (int)info.n_tokens);
        hybrid_tokenizer_destroy(tok);
    }
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static hybrid_runtime *metered(meter *m)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = meter_alloc;
    rd.allocator.free = meter_free;
    rd.allocator.user = m;
    m->until = 1000;
    m->blocks = 0;
    CHECK(!hybrid_runtime_create(&rd, &rt, NULL), "runtime");
    return rt;
}

/* A text with pieces that are not in normalization form C, so that normalizing allocates; and more words and pairs than
 * the tables begin with. */
static size_t failing_text(char *text)
{
    size_t n = 0, i;
    for (i = 0; i < 3000; i++)
        n += (size_t)sprintf(text + n, " %xe\xCC\x81%s", next_random() % 4096, i % 500 ? "" : "<|endoftext|>");
    return n;
}

static void test_failures(void)
{
    static char text[60000];
    const size_t size = failing_text(text);
    hybrid_source sources[2];
    hybrid_bpe_desc desc;
    hybrid_bpe_info info;
    hybrid_tokenizer *tok = NULL;
    hybrid_error e;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    uint64_t peak, most;
    tape t;
    meter m;
    hybrid_runtime *rt = metered(&m);
    const long blocks = m.blocks;
    long until;
    TEST("memory that fails");
    memset(&desc, 0, sizeof desc);
    desc.texts = sources;
    desc.n_texts = 2;
    desc.vocab_size = 1000;
    desc.pre = "qwen2";
    sources[0] = source_of(text, size);
    for (until = 0; r == HYBRID_ERROR_MEMORY && until < 300; until++) {
        sources[1] = tape_source(&t, text, size);
        m.until = until;
        e.message[0] = 0;
        r = hybrid_bpe_train(rt, &desc, &tok, &info, &e);
        CHECK(!r || (r == HYBRID_ERROR_MEMORY && strstr(e.message, "memory")), "allocation %ld: %d %s", until, r,
              e.message);
        CHECK(!r || (!tok && !info.n_tokens && m.blocks == blocks), "allocation %ld: something is left", until);
        CHECK(t.closed == 1, "allocation %ld: the reader is closed %d times", until, t.closed);
    }
    CHECK(!r && until > 30, "with %ld allocations it works", until);
    hybrid_tokenizer_destroy(tok);
    peak = info.peak_bytes;
    TEST("max_bytes");
    for (most = 1; most < 2 * peak; most = most * 5 / 4 + 1) {
        sources[1] = tape_source(&t, text, size);
        m.until = 1000;
        desc.max_bytes = most;
        r = hybrid_bpe_train(rt, &desc, &tok, &info, &e);
        CHECK(most < peak ? r == HYBRID_ERROR_LIMIT && strstr(e.message, "max_bytes") : !r && info.peak_bytes == peak,
              "%llu of %llu bytes: %d %s", (unsigned long long)most, (unsigned long long)peak, r, e.message);
        hybrid_tokenizer_destroy(tok);
        CHECK(m.blocks == blocks, "blocks are left");
    }
    hybrid_runtime_destroy(rt);
    CHECK(!m.blocks, "%ld blocks are left", m.blocks);
}

typedef struct watch {
    int calls, stop_at;
    float last;
    bool falls;
} watch;

static bool watch_progress(void *user, float fraction)
{
    watch *w = (watch *)user;
    w->falls |= fraction < w->last || fraction > 1;
    w->last = fraction;
    return ++w->calls != w->stop_at;
}

static void test_progress(void)
{
    static char text[60000];
    hybrid_source sources[2];
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok;
    hybrid_error e;
    watch w = { 0, 0, 0, false };
    meter m;
    tape t;
    hybrid_runtime *rt = metered(&m);
    const size_t size = failing_text(text);
    const long blocks = m.blocks;
    int stop, calls;
    TEST("progress");
    memset(&desc, 0, sizeof desc);
    desc.texts = sources;
    desc.n_texts = 2;
    desc.vocab_size = 3000;
    desc.progress = watch_progress;
    desc.user = &w;
    sources[0] = source_of(text, size);
    sources[1] = tape_source(&t, text, size);
    CHECK(!hybrid_bpe_train(rt, &desc, &tok, NULL, &e), "%s", e.message);
    hybrid_tokenizer_destroy(tok);
    calls = w.calls;
    CHECK(calls > 300 && !w.falls && w.last == 1, "%d calls, the last with %g", calls, (double)w.last);
    for (stop = 1; stop <= calls; stop = stop * 3 / 2 + 1) {
        memset(&w, 0, sizeof w);
        w.stop_at = HYB_MIN(stop, calls);
        sources[1] = tape_source(&t, text, size);
        CHECK(hybrid_bpe_train(rt, &desc, &tok, NULL, &e) == HYBRID_ERROR_CANCELLED && !tok && w.calls == w.stop_at,
              "call %d of %d: %s", stop, calls, e.message);
        CHECK(m.blocks == blocks && t.closed == 1, "call %d: something is left", stop);
    }
    hybrid_runtime_destroy(rt);
}

/* A desc that is wrong in one way, and a word of the sentence. */
static void test_refusals(void)
{
    static const char *const short_name[] = { "<|x|>", "x" }, *const twice[] = { "<|x|>", "<|y|>", "<|x|>" };
    static const char *const not_utf8[] = { "\xFFoo" }, *const other[] = { "\xC4\xA0t" }, *const null[] = { NULL };
    static const char *const fine[] = { "\xC4\xA0 t", "\xE2\x98\x83", "<|x|>" };
    static const struct {
        const char *const *specials;
        size_t n;
        int32_t vocab;
        const char *bos, *eos, *pre, *says;
        int ties;
        hybrid_result code;
    } wrong[] = { { NULL, 0, 256, NULL, NULL, NULL, "no room", 0, HYBRID_ERROR_INVALID },
                  { NULL, 0, INT32_MAX, NULL, NULL, NULL, "too large", 0, HYBRID_ERROR_LIMIT },
                  { NULL, 3, 300, NULL, NULL, NULL, "specials is NULL", 0, HYBRID_ERROR_INVALID },
                  { short_name, 2, 300, NULL, NULL, NULL, "token 1, 'x': it has less than two", 0,
                    HYBRID_ERROR_INVALID },
                  { twice, 3, 300, NULL, NULL, NULL, "token 2, '<|x|>': it is given twice", 0, HYBRID_ERROR_INVALID },
                  { not_utf8, 1, 300, NULL, NULL, NULL, "not UTF-8", 0, HYBRID_ERROR_INVALID },
                  { other, 1, 300, NULL, NULL, NULL, "spell other bytes", 0, HYBRID_ERROR_INVALID },
                  { null, 1, 300, NULL, NULL, NULL, "token 0 is NULL", 0, HYBRID_ERROR_INVALID },
                  { fine, 3, 300, "<|y|>", NULL, NULL, "bos is '<|y|>'", 0, HYBRID_ERROR_INVALID },
                  { fine, 3, 300, NULL, "<|y|>", NULL, "eos is '<|y|>'", 0, HYBRID_ERROR_INVALID },
                  { fine, 3, 300, NULL, NULL, "no such", "\"no such\"", 0, HYBRID_ERROR_UNSUPPORTED },
                  { fine, 3, 300, NULL, NULL, NULL, "rule for ties 2", 2, HYBRID_ERROR_INVALID },
                  { fine, 3, 259, "<|x|>", "\xE2\x98\x83", NULL, "", 0, HYBRID_OK } };
    hybrid_source source = source_of("the text", 8), none;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok;
    hybrid_error e;
    size_t i;
    TEST("refusals");
    memset(&none, 0, sizeof none);
    for (i = 0; i < HYB_COUNT(wrong); i++) {
        memset(&desc, 0, sizeof desc);
        desc.texts = &source;
        desc.n_texts = 1;
        desc.specials = wrong[i].specials;
        desc.n_specials = wrong[i].n;
        desc.vocab_size = wrong[i].vocab;
        desc.bos = wrong[i].bos;
        desc.eos = wrong[i].eos;
        desc.pre = wrong[i].pre;
        desc.ties = (hybrid_bpe_ties)wrong[i].ties;
        e.message[0] = 0;
        CHECK(hybrid_bpe_train(NULL, &desc, &tok, NULL, &e) == wrong[i].code && strstr(e.message, wrong[i].says),
              "%zu: %s", i, e.message);
        CHECK(!tok == !!wrong[i].code, "%zu: a tokenizer", i);
        if (tok) {
            CHECK(hybrid_token_role_id(tok, HYBRID_ROLE_BOS) == 2 && hybrid_token_role_id(tok, HYBRID_ROLE_EOS) == 1,
                  "roles");
            CHECK(hybrid_token_kind(tok, 0) == HYBRID_TOKEN_CONTROL && hybrid_vocab_size(tok) == 259, "tokens");
        }
        hybrid_tokenizer_destroy(tok);
    }
    memset(&desc, 0, sizeof desc);
    CHECK(hybrid_bpe_train(NULL, &desc, &tok, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "no texts"), "%s",
          e.message);
    desc.texts = &none;
    desc.n_texts = 1;
    CHECK(hybrid_bpe_train(NULL, &desc, &tok, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "exactly one"),
          "%s", e.message);
    CHECK(hybrid_bpe_train(NULL, NULL, &tok, NULL, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
    CHECK(hybrid_bpe_train(NULL, &desc, NULL, NULL, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
}

/* ---- files for others -------------------------------------------------------------------------------------------- */

/* The tokenizer that comes back out of a GGUF file. */
static hybrid_tokenizer *through_gguf(const hybrid_tokenizer *tok, bytes *file)
{
    hybrid_gguf_writer *w;
    hybrid_gguf *g = NULL;
    hybrid_tokenizer *back = NULL;
    hybrid_source source;
    hybrid_error e = { HYBRID_OK, 0, "" };
    CHECK(!hybrid_gguf_writer_create(NULL, &w, &e), "%s", e.message);
    hybrid_gguf_set_string(w, "general.architecture", "gpt2", NULL);
    hybrid_gguf_set_string(w, "tokenizer.ggml.pre", "to be replaced", NULL);
    CHECK(!hybrid_tokenizer_to_gguf(tok, w, &e), "%s", e.message);
    CHECK(!hybrid_gguf_begin(w, bytes_add, file, &e) && !hybrid_gguf_end(w, &e), "%s", e.message);
    CHECK(hybrid_tokenizer_to_gguf(tok, w, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "too late"), "%s",
          e.message);
    hybrid_gguf_writer_destroy(w);
    source = source_of(file->data, file->size);
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e) && !hybrid_tokenizer_from_gguf(NULL, g, &back, &e), "%s", e.message);
    hybrid_gguf_destroy(g);
    return back;
}

static void same_tokenizers(const hybrid_tokenizer *a, const hybrid_tokenizer *b, const char *text, size_t size)
{
    static int32_t ids[2][4000];
    size_t n[2] = { 0, 1 }, i;
    bytes x = merges_of(a), y = merges_of(b);
    same_bytes("merges", x.data, x.size, y.data, y.size);
    free(x.data);
    free(y.data);
    CHECK(hybrid_vocab_size(a) == hybrid_vocab_size(b) && a->pre == b->pre && a->add_bos == b->add_bos, "tables");
    CHECK(!memcmp(a->roles, b->roles, sizeof a->roles), "roles");
    for (i = 0; i < a->n_tokens; i++) {
        const hybrid_string s = hybrid_token_bytes(a, (int32_t)i), t = hybrid_token_bytes(b, (int32_t)i);
        if (a->kinds[i] != b->kinds[i] || s.size != t.size || memcmp(s.data, t.data, s.size)) break;
    }
    CHECK(i == a->n_tokens, "token %zu", i);
    CHECK(!hybrid_tokenize(a, text, size, 3, ids[0], 4000, &n[0], NULL), "ids");
    CHECK(!hybrid_tokenize(b, text, size, 3, ids[1], 4000, &n[1], NULL), "ids");
    CHECK(n[0] == n[1] && !memcmp(ids[0], ids[1], n[0] * sizeof ids[0][0]), "ids");
}

static bool refuse_some(void *user, const void *data, size_t n)
{
    HYB_UNUSED(data);
    HYB_UNUSED(n);
    return --*(int *)user != 0;
}

static void test_export(void)
{
    static const char *const specials[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>", "\xE2\x98\x83 \"\\\n" };
    static char text[3000];
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok, *back;
    hybrid_error e = { HYBRID_OK, 0, "" };
    bytes file = { NULL, 0, 0 };
    meter m;
    hybrid_runtime *rt;
    size_t i;
    int count;
    TEST("files for others");
    for (i = 0; i < sizeof text; i++)
        text[i] = next_random() % 7 ? "etaoin \n"[next_random() % 8] : (char)next_random();
    memcpy(text + 500, "<|im_start|>\xE2\x98\x83 \"\\\n<|endoftext|>", 29);
    source = source_of(text, sizeof text);
    memset(&desc, 0, sizeof desc);
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 500;
    desc.specials = specials;
    desc.n_specials = 4;
    desc.bos = specials[1];
    desc.add_bos = true;
    rt = metered(&m);
    m.until = 1000000;
    CHECK(!hybrid_bpe_train(rt, &desc, &tok, NULL, &e), "%s", e.message);
    back = through_gguf(tok, &file);
    same_tokenizers(tok, back, text, sizeof text);
    hybrid_tokenizer_destroy(back);
    free(file.data);
    for (count = 1; count < 3; count++) {
        int left = count * 400;
        CHECK(hybrid_tokenizer_write(tok, (hybrid_tokenizer_text)(count - 1), refuse_some, &left, &e) ==
                  HYBRID_ERROR_IO,
              "%s", e.message);
    }
    CHECK(hybrid_tokenizer_write(tok, (hybrid_tokenizer_text)2, refuse_some, &count, &e) == HYBRID_ERROR_INVALID, "%s",
          e.message);
    hybrid_tokenizer_destroy(tok);
    hybrid_runtime_destroy(rt);
}

/* A real vocabulary goes through, too, and its lists of tokens and merges come out as they were. */
static void test_real_vocabulary(void)
{
    hybrid_source source;
    hybrid_gguf *g = NULL, *again = NULL;
    hybrid_tokenizer *tok = NULL, *back;
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_gguf_value a, b;
    bytes file = { NULL, 0, 0 };
    static const char *const keys[] = { "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type",
                                        "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id" };
    size_t i;
    TEST("a real vocabulary");
    memset(&source, 0, sizeof source);
    if (!(source.path = data_path("vocab/ggml-vocab-gpt-2.gguf"))) {
        SKIP("ggml-vocab-gpt-2.gguf is not in the test data");
        return;
    }
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e) && !hybrid_tokenizer_from_gguf(NULL, g, &tok, &e), "%s", e.message);
    back = through_gguf(tok, &file);
    same_tokenizers(tok, back, "Hello  world!<|endoftext|>", 26);
    source = source_of(file.data, file.size);
    CHECK(!hybrid_gguf_open(NULL, &source, &again, &e), "%s", e.message);
    for (i = 0; i < HYB_COUNT(keys); i++)
        CHECK(hybrid_gguf_find(g, keys[i], &a) && hybrid_gguf_find(again, keys[i], &b) && a.type == b.type &&
                  a.count == b.count && a.size == b.size && !memcmp(a.data, b.data, (size_t)a.size),
              "%s", keys[i]);
    hybrid_gguf_destroy(g);
    hybrid_gguf_destroy(again);
    hybrid_tokenizer_destroy(tok);
    hybrid_tokenizer_destroy(back);
    free(file.data);
    if (!(source.path = data_path("vocab/ggml-vocab-llama-spm.gguf"))) return;
    source.data = NULL;
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e) && !hybrid_tokenizer_from_gguf(NULL, g, &tok, &e), "%s", e.message);
    i = 9;
    CHECK(hybrid_tokenizer_write(tok, HYBRID_TOKENIZER_MERGES, refuse_some, &i, &e) == HYBRID_ERROR_UNSUPPORTED, "%s",
          e.message);
    hybrid_gguf_destroy(g);
    hybrid_tokenizer_destroy(tok);
}

int main(void)
{
    document_block = 7; /* so that every border of blocks lies somewhere */
    words_report = 64;
    test_lines();
    test_reference();
    test_random();
    test_documents();
    test_readers();
    test_files();
    test_steps();
    test_seldom_pairs();
    test_failures();
    test_progress();
    test_refusals();
    test_export();
    test_real_vocabulary();
    return test_end();
}
