/* Training data: windows out of tokens, texts and conversations, each target once in an epoch; order, positions,
 * validation; what the assistant says; files that change, lines that are bad, memory that is short. */
#include "private.h"
#include "meter.h"

static uint32_t seed = 1;
static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static hybrid_source source_of(const void *data, size_t size)
{
    hybrid_source s;
    memset(&s, 0, sizeof s);
    s.data = data;
    s.size = size;
    return s;
}

static hybrid_data *make_data(const hybrid_data_desc *desc)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_data *data;
    CHECK(!hybrid_data_create(NULL, desc, &data, &e), "%s", e.message);
    return data;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static void test_permutation(void)
{
    /* by tests/oracle/permute.py */
    static const uint64_t known[2][3] = { { UINT64_C(162268244710), UINT64_C(574168542328), UINT64_C(561574566654) },
                                          { UINT64_C(162268244710), UINT64_C(1874955301350), UINT64_C(652937193728) } };
    static uint8_t seen[3000];
    uint64_t n, i, fixed;
    TEST("permutation");
    for (n = 1; n < 3000; n += 1 + n / 3) {
        memset(seen, 0, sizeof seen);
        for (i = 0, fixed = 0; i < n; i++) {
            const uint64_t at = hyb_permute(7, 1, n, i);
            if (at >= n || seen[at]) break;
            seen[at] = 1;
            fixed += at == i;
        }
        CHECK(i == n, "%d of %d is no number, or comes twice", (int)i, (int)n);
        CHECK(n < 20 || fixed < 12, "%d of %d stay in their places", (int)fixed, (int)n);
    }
    for (i = 0, fixed = 0; i < 1000; i++) fixed += hyb_permute(7, 1, 1000, i) == hyb_permute(7, 2, 1000, i);
    CHECK(fixed < 20, "two epochs are alike in %d of 1000", (int)fixed);
    for (i = 0; i < 6; i++)
        CHECK(hyb_permute(1234, 5, (uint64_t)1 << (40 + i / 3), i % 3) == known[i / 3][i % 3], "number %d", (int)i);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

enum { MOST = 3000, SEPARATOR = 9 };
static uint32_t tokens[MOST]; /* a token says where it stands: 10 + its place; or SEPARATOR */
static uint16_t halves[MOST];
static int times[MOST]; /* that a place was a target */

static size_t make_tokens(int document)
{
    const size_t n = 2 + next_random() % (MOST - 2);
    size_t i;
    for (i = 0; i < n; i++) {
        tokens[i] = document && next_random() % (unsigned)document == 0 ? SEPARATOR : 10 + (uint32_t)i;
        halves[i] = (uint16_t)tokens[i];
    }
    return n;
}

/* Counts the targets of one window; a separator is known by the token before it. */
static void count_window(const int32_t *ids, const int32_t *targets, int32_t n_ctx, bool across)
{
    int32_t i, last = -1;
    bool follow = true, apart = true;
    for (i = 0; i < n_ctx; i++) {
        const int32_t place = ids[i] >= 10 ? ids[i] - 10 : last + 1; /* of a separator, or of what fills up */
        follow &= targets[i] >= -1;
        if (targets[i] < 0) continue;
        if (targets[i] >= 10) {
            const int32_t at = targets[i] - 10;
            follow &= ids[i] == SEPARATOR || at == place + 1;
            times[at]++;
            last = at - 1;
        } else if (ids[i] >= 10)
            times[place + 1]++;
        apart &= across || i == 0 || ids[i] != SEPARATOR;
        apart &= across || ids[i] != SEPARATOR || targets[i] != SEPARATOR; /* an empty document */
        last = ids[i] >= 10 ? place : last + 1;
    }
    CHECK(follow, "a target does not follow what was read");
    CHECK(apart, "two documents in a window");
}

/* What should be a target once: all but the first token, and but the separators of empty documents. */
static void check_counts(size_t n, bool across, const char *what)
{
    size_t i;
    for (i = 1; i < n; i++) {
        const bool empty = tokens[i] == SEPARATOR && tokens[i - 1] == SEPARATOR;
        if (empty ? !across && times[i] : times[i] != 1) break;
    }
    CHECK(i == n, "%s: token %zu of %zu (%u) is a target %d times", what, i, n, tokens[i], times[i]);
}

static void test_tokens(void)
{
    static int32_t ids[4 * 64], targets[4 * 64];
    static const int32_t separator = SEPARATOR;
    int round;
    TEST("every target once");
    for (round = 0; round < 120; round++) {
        const bool wide = round & 1, across = (round & 2) != 0;
        hybrid_data_desc desc;
        hybrid_data_info info;
        hybrid_data *data;
        hybrid_data_position middle = { 0, 0 };
        hybrid_error e = { HYBRID_OK, 0, "" };
        hybrid_source source;
        const size_t n = make_tokens(round % 3 ? 1 + (int)(next_random() % 60) : 0);
        uint64_t i, left, n_targets = 0;
        source = source_of(wide ? (const void *)tokens : halves, n * (wide ? 4 : 2));
        memset(&desc, 0, sizeof desc);
        desc.kind = wide ? HYBRID_DATA_U32 : HYBRID_DATA_U16;
        desc.sources = &source;
        desc.n_sources = 1;
        desc.n_ctx = 1 + (int32_t)(next_random() % 64);
        desc.separator = &separator;
        desc.across = across;
        desc.seed = (uint64_t)round;
        desc.validation = round % 5 ? 0 : 0.3f;
        desc.n_vocab = 10 + MOST;
        if (hybrid_data_create(NULL, &desc, &data, &e)) {
            CHECK(e.result == HYBRID_ERROR_FORMAT && (strstr(e.message, "too small") || strstr(e.message, "no two")),
                  "%s", e.message);
            for (i = 0, left = 0; i < n; i++) left += tokens[i] != SEPARATOR;
            CHECK(left < 20, "%d words of %zu, but %s", (int)left, n, e.message);
            continue;
        }
        hybrid_data_describe(data, &info);
        memset(times, 0, sizeof times);
        for (left = info.n_windows; left; left -= i) {
            i = left < 4 ? left : 1 + next_random() % 4;
            if (i > 4) i = 4;
            CHECK(!hybrid_data_next(data, (int32_t)i, ids, targets, &e), "%s", e.message);
            for (middle.index = 0; middle.index < i; middle.index++)
                count_window(ids + middle.index * (uint64_t)desc.n_ctx, targets + middle.index * (uint64_t)desc.n_ctx,
                             desc.n_ctx, across);
        }
        for (i = 0; i < MOST; i++) n_targets += (uint64_t)times[i];
        CHECK(n_targets <= info.n_targets, "%llu targets", (unsigned long long)n_targets);
        for (i = 0; i < info.n_validation_windows; i++) {
            CHECK(!hybrid_data_validation(data, i, 1, ids, targets, &e), "%s", e.message);
            count_window(ids, targets, desc.n_ctx, across);
        }
        check_counts(n, across, across ? "across" : "apart");
        if (desc.validation > 0) {
            const double part =
                (double)info.n_validation_targets / (double)(info.n_targets + info.n_validation_targets);
            CHECK((part > 0.1 && part < 0.5) || n < 30, "%g is for validation, of %zu", part, n);
        }
        hybrid_data_destroy(data);
    }
}

/* A position is all that a checkpoint needs; the second epoch has the windows of the first in another order. */
static void test_positions(void)
{
    static int32_t a[5 * 8], b[5 * 8], c[5 * 8], d[5 * 8];
    static const int32_t separator = SEPARATOR;
    hybrid_source source;
    hybrid_data_desc desc;
    hybrid_data_position at[3], wrong = { 0, 1000 };
    hybrid_data_info info;
    hybrid_data *data, *other;
    hybrid_error e;
    int i, same = 0;
    TEST("positions");
    for (i = 0; i < 1000; i++) tokens[i] = i % 100 == 99 ? SEPARATOR : 10 + (uint32_t)i;
    source = source_of(tokens, 4000);
    memset(&desc, 0, sizeof desc);
    desc.kind = HYBRID_DATA_U32;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.n_ctx = 8;
    desc.separator = &separator;
    desc.seed = 3;
    data = make_data(&desc);
    other = make_data(&desc);
    hybrid_data_describe(data, &info);
    CHECK(info.n_windows == 13 * 10 && info.n_documents == 10 && info.n_tokens == 1000, "%d windows",
          (int)info.n_windows);
    for (i = 0; i < 60; i++) {
        at[0] = hybrid_data_where(data);
        CHECK(!hybrid_data_next(data, 5, a, b, &e), "%s", e.message);
        CHECK(!hybrid_data_seek(other, at[0], &e) && !hybrid_data_next(other, 5, c, d, &e), "%s", e.message);
        CHECK(!memcmp(a, c, sizeof a) && !memcmp(b, d, sizeof b), "batch %d is another after a seek", i);
        at[1] = hybrid_data_where(data);
        at[2] = hybrid_data_where(other);
        CHECK(!memcmp(&at[1], &at[2], sizeof at[1]), "positions");
    }
    CHECK(at[1].epoch == 2 && at[1].index == 300 - 2 * 130, "epoch %d, window %d", (int)at[1].epoch, (int)at[1].index);
    CHECK(hybrid_data_seek(data, wrong, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "window 1000"), "%s",
          e.message);
    at[0].epoch = 0;
    at[1].epoch = 1;
    at[0].index = at[1].index = 0;
    for (i = 0; i < 26; i++) {
        hybrid_data_seek(data, at[0], NULL);
        hybrid_data_next(data, 5, a, b, NULL);
        hybrid_data_seek(other, at[1], NULL);
        hybrid_data_next(other, 5, c, d, NULL);
        same += !memcmp(a, c, 8 * sizeof a[0]);
        at[0].index += 5;
        at[1].index += 5;
    }
    CHECK(same < 4, "%d of 26 windows stand in the same place in both epochs", same);
    hybrid_data_destroy(other);
    desc.in_order = true;
    other = make_data(&desc);
    CHECK(!hybrid_data_next(other, 1, a, b, &e) && a[0] == 10 && b[7] == 18, "in order: %d %d", (int)a[0], (int)b[7]);
    hybrid_data_destroy(other);
    hybrid_data_destroy(data);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (f && size) fwrite(data, 1, size, f);
    if (f) fclose(f);
}

static void test_files(void)
{
    static const char path[] = "build/tests/data.tmp";
    static int32_t ids[8 * 4], targets[8 * 4];
    hybrid_source source;
    hybrid_data_desc desc;
    hybrid_data *data;
    hybrid_data_position before, after;
    hybrid_error e = { HYBRID_OK, 0, "" };
    int i;
    TEST("token files");
    for (i = 0; i < 1000; i++) halves[i] = (uint16_t)i;
    write_file(path, halves, 2000);
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.path = path;
    desc.kind = HYBRID_DATA_U16;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.n_ctx = 8;
    desc.header = 20;
    if (hybrid_data_create(NULL, &desc, &data, &e)) {
        SKIP("%s: %s", path, e.message);
        return;
    }
    CHECK(!hybrid_data_next(data, 4, ids, targets, &e) && ids[0] >= 10 && targets[0] == ids[0] + 1, "%s", e.message);
    before = hybrid_data_where(data);
    write_file(path, halves, 60); /* shorter */
    for (i = 0; i < 5; i++)
        CHECK(hybrid_data_next(data, 4, ids, targets, &e) == HYBRID_ERROR_IO, "%d %s", e.result, e.message);
    after = hybrid_data_where(data);
    CHECK(!memcmp(&before, &after, sizeof before), "nothing was taken");
    memset(halves, 0xFF, sizeof halves);
    write_file(path, halves, 2000);
    hybrid_data_destroy(data);
    desc.n_vocab = 5000;
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "is 65535"), "%s",
          e.message);
    write_file(path, halves, 2001);
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "2001 bytes"), "%s",
          e.message);
    write_file(path, halves, 10);
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT, "%s", e.message);
    write_file(path, halves, 0);
    desc.header = 0;
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "no two tokens"), "%s",
          e.message);
    remove(path);
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_IO && !data, "%s", e.message);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static const char *const names[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>" };

/* A tokenizer of 256 bytes and the names above; eos: which of them ends a document. */
static hybrid_tokenizer *make_tokenizer(const char *eos, bool add_bos)
{
    hybrid_source source = source_of("", 0);
    hybrid_bpe_desc desc;
    hybrid_tokenizer *tok = NULL;
    hybrid_error e = { HYBRID_OK, 0, "" };
    memset(&desc, 0, sizeof desc);
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 256 + 5;
    desc.specials = names;
    desc.n_specials = 5;
    desc.bos = "<s>";
    desc.eos = eos;
    desc.add_bos = add_bos;
    CHECK(!hybrid_bpe_train(NULL, &desc, &tok, NULL, &e), "%s", e.message);
    return tok;
}

/* The windows of an epoch in order as text: what is read, and in brackets what is counted. */
static void show(hybrid_data *data, const hybrid_tokenizer *tok, char *out)
{
    int32_t ids[64], targets[64];
    hybrid_data_info info;
    hybrid_data_position beginning = { 0, 0 };
    uint64_t k;
    size_t n, size = 0;
    int32_t i;
    hybrid_data_describe(data, &info);
    hybrid_data_seek(data, beginning, NULL);
    for (k = 0; k < info.n_windows; k++) {
        bool inside = false;
        CHECK(!hybrid_data_next(data, 1, ids, targets, NULL), "a window");
        out[size++] = '|';
        hybrid_detokenize(tok, ids, 1, HYBRID_DETOKENIZE_SPECIAL, out + size, 64, &n, NULL);
        size += n;
        for (i = 0; i < info.n_ctx; i++) {
            const bool counted = targets[i] >= 0;
            const int32_t next = counted ? targets[i] : i + 1 < info.n_ctx ? ids[i + 1] : -1;
            if (counted != inside) out[size++] = counted ? '[' : ']';
            inside = counted;
            if (next < 0 || (!counted && !next)) continue; /* unknown, or filled up */
            hybrid_detokenize(tok, &next, 1, HYBRID_DETOKENIZE_SPECIAL, out + size, 64, &n, NULL);
            size += n;
        }
        if (inside) out[size++] = ']';
    }
    out[size] = 0;
}

static void test_texts(void)
{
    static const char first[] = "ab<|endoftext|>cdefgh<|endoftext|><|endoftext|>", second[] = "ij<|im_end|>";
    static char out[2000];
    static const struct {
        bool bos, across, special;
        const char *right;
    } cases[] = {
        { false, false, false,
          "|a[b<|endoftext|>]|<|endoftext|>[cdef]|f[gh<|endoftext|>]|<|endoftext|>[ij<|]||[im_e]|e[nd|>]|>[<|endoftext|"
          ">]" },
        { false, false, true,
          "|a[b<|endoftext|>]|<|endoftext|>[cdef]|f[gh<|endoftext|>]|<|endoftext|>[ij<|im_end|><|endoftext|>]" },
        { true, false, true, "|<s>[ab<|endoftext|>]|<s>[cdef]|f[gh<|endoftext|>]|<s>[ij<|im_end|><|endoftext|>]" },
        { false, true, true, "|a[b<|endoftext|>cd]|d[efgh]|h[<|endoftext|>ij<|im_end|>]|<|im_end|>[<|endoftext|>]" }
    };
    hybrid_source sources[2];
    size_t i;
    TEST("texts");
    sources[0] = source_of(first, sizeof first - 1);
    sources[1] = source_of(second, sizeof second - 1);
    for (i = 0; i < HYB_COUNT(cases); i++) {
        hybrid_tokenizer *tok = make_tokenizer("<|endoftext|>", cases[i].bos);
        hybrid_data_desc desc;
        hybrid_data *data;
        memset(&desc, 0, sizeof desc);
        desc.sources = sources;
        desc.n_sources = 2;
        desc.tokenizer = tok;
        desc.n_ctx = 4;
        desc.in_order = true;
        desc.across = cases[i].across;
        desc.parse_special = cases[i].special;
        data = make_data(&desc);
        hybrid_tokenizer_destroy(tok); /* only creating asks it */
        tok = make_tokenizer("<|endoftext|>", false);
        show(data, tok, out);
        CHECK(!strcmp(out, cases[i].right), "case %zu\n    ours   %s\n    right  %s", i, out, cases[i].right);
        hybrid_data_destroy(data);
        hybrid_tokenizer_destroy(tok);
    }
}

/* ---- conversations ----------------------------------------------------------------------------------------------- */

/* Hexadecimal to bytes, in its place; how many. */
static size_t unhex(char *text)
{
    char pair[3] = "";
    size_t n, size = strlen(text) / 2;
    for (n = 0; n < size; n++) {
        memcpy(pair, text + 2 * n, 2);
        text[n] = (char)strtol(pair, NULL, 16);
    }
    return n;
}

#define TALK \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}," \
    "{\"role\":\"user\",\"content\":\"2\"},{\"role\":\"assistant\",\"content\":\"4\"}]}"

/* One line of conversations as windows, in the form of show(). n_tokens: 0 where their number does not matter. */
static void check_talk(const char *text, const char *line, int32_t n_ctx, bool bos, bool special, uint64_t n_tokens,
                       const char *right)
{
    static char out[4000];
    hybrid_tokenizer *tok = make_tokenizer("</s>", bos);
    hybrid_template_desc td;
    hybrid_template *tmpl = NULL;
    hybrid_data_desc desc;
    hybrid_data_info info;
    hybrid_data *data;
    hybrid_source source = source_of(line, strlen(line));
    memset(&td, 0, sizeof td);
    memset(&desc, 0, sizeof desc);
    td.text = text;
    CHECK(!hybrid_template_create(NULL, &td, &tmpl, NULL), "template '%s'", text);
    desc.kind = HYBRID_DATA_CHAT;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.tokenizer = tok;
    desc.tmpl = tmpl;
    desc.n_ctx = n_ctx;
    desc.parse_special = special;
    desc.in_order = true;
    data = make_data(&desc);
    hybrid_data_describe(data, &info);
    CHECK(info.n_documents == 1 && !info.n_bad, "%d conversations", (int)info.n_documents);
    CHECK(!n_tokens || info.n_tokens == n_tokens, "%d tokens, not %d", (int)info.n_tokens, (int)n_tokens);
    show(data, tok, out);
    CHECK(!strcmp(out, right), "%s\n    ours   %s\n    right  %s", text, out, right);
    hybrid_data_destroy(data);
    hybrid_template_destroy(tmpl);
    hybrid_tokenizer_destroy(tok);
}

static void test_conversations(void)
{
    static const char forgets[] = /* what was thought stays only in the last turn */
        "{% for m in messages %}{{ '<|im_start|>' + m.role[0] }}{% if m.role == 'assistant' and loop.last %}{{ '(t)' }}"
        "{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a' }}"
        "{% endif %}";
    static const char thinks[] = /* the prompt is not what the turn begins with */
        "{% for m in messages %}{{ '<|im_start|>' + m.role[0] + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>a<t></t>' }}{% endif %}";
    static const char tools[] =
        "{{ tools[0].name }}{% for m in messages %}{{ m.role[0] + m.content + '</s>' }}{% endfor %}"
        "{% if add_generation_prompt %}a{% endif %}";
    static const struct {
        const char *tmpl, *line, *right;
        int32_t n_ctx;
        bool bos;
    } cases[] = {
        { "{% for m in messages %}{{ '<|im_start|>' + m.role[0] + m.content + '<|im_end|>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>a' }}{% endif %}",
          TALK,
          "|<|im_start|>uHi<|im_end|>\n<|im_start|>a[Yo<|im_end|>]\n<|im_start|>u2<|im_end|>\n<|im_start|>a[4<|im_end|>"
          "]",
          40, false },
        { "{% for m in messages %}{{ m.role[0] + m.content + '</s>' }}{% endfor %}"
          "{% if add_generation_prompt %}a{% endif %}",
          TALK, "|<s>uHi</s>a[Yo</s>]u2</s>a[4</s>]", 40, true },
        { forgets, TALK,
          "|<|im_start|>uHi<|im_end|><|im_start|>a[(t)Yo<|im_end|>]"
          "|<|im_start|>uHi<|im_end|><|im_start|>aYo<|im_end|><|im_start|>u2<|im_end|><|im_start|>a[(t)4<|im_end|>]",
          40, false },
        { thinks, TALK,
          "|<|im_start|>uHi<|im_end|><|im_start|>a[Yo<|im_end|>]<|im_start|>u2<|im_end|><|im_start|>a[4<|im_end|>]", 40,
          false },
        { tools,
          "{\"tools\":[{\"name\":\"f\"}],\"messages\":[{\"role\":\"assistant\",\"content\":\"no\",\"weight\":0},"
          "{\"role\":\"assistant\",\"content\":\"yes\",\"weight\":1},{\"role\":\"user\",\"content\":\"\"}]}",
          "|fano</s>a[yes</s>]", 40, false },
        /* windows without anything said are left out */
        { tools,
          "{\"tools\":[{\"name\":\"f\"}],\"messages\":[{\"role\":\"user\",\"content\":\"0123456789\"},"
          "{\"role\":\"assistant\",\"content\":\"yes\"}]}",
          "|</s>a[yes]|s[</s>]", 4, false }
    };
    size_t i;
    TEST("conversations");
    for (i = 0; i < HYB_COUNT(cases); i++)
        check_talk(cases[i].tmpl, cases[i].line, cases[i].n_ctx, cases[i].bos, false, 0, cases[i].right);
}

/* Control tokens that a message spells out are ten letters, unless it is asked for, and end no turn. */
static void test_words_of_strangers(void)
{
    static const char line[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"1<|im_end|>\"},"
                               "{\"role\":\"assistant\",\"content\":\"<|im_end|>2\"}]}";
    static const char *const templates[] = {
        "{% for m in messages %}{{ '<|im_start|>' + m.role[0] + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>a' }}{% endif %}",
        /* turns that stand apart */
        "{% for m in messages %}{{ '<|im_start|>' + m.role[0] + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>a<t>' }}{% endif %}"
    };
    static const char right[] = "|<|im_start|>u1<|im_end|><|im_end|><|im_start|>a[<|im_end|>2<|im_end|>]";
    size_t k;
    TEST("words of strangers in conversations");
    for (k = 0; k < HYB_COUNT(templates); k++) {
        /* 4 tokens of the template, 2 initials, 2 digits; and two names, in letters or as a token each */
        check_talk(templates[k], line, 60, false, false, 28, right);
        check_talk(templates[k], line, 60, false, true, 10, right);
    }
}

/* What transformers makes of conversations, and its own marks of what the assistant says. */
static void test_transformers(void)
{
    static const char *const templates[] = {
        NULL, "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'A: ' }}"
              "{% generation %}{{ message['content'] | trim + '<|endoftext|>' }}{% endgeneration %}{% else %}"
              "{{ 'Q: ' + message['content'] | trim + '\\n' }}{% endif %}{% endfor %}"
              "{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}"
    };
    static const char *const specials[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
    char *all = read_file("tests/oracle/data/chat_data.txt", NULL), *line = all, *p;
    static int32_t ids[2000], targets[2000];
    hybrid_template *tmpl[2] = { NULL, NULL };
    hybrid_tokenizer *tok = NULL;
    hybrid_bpe_desc bd;
    hybrid_template_desc td;
    hybrid_source source;
    size_t n_lines = 0, n, k;
    TEST("conversations, beside transformers");
    CHECK(all, "tests/oracle/data/chat_data.txt is not there");
    if (!all) return;
    memset(&bd, 0, sizeof bd);
    memset(&td, 0, sizeof td);
    line[strcspn(line, "\n")] = 0;
    n = unhex(line);
    source = source_of(line, n);
    bd.texts = &source;
    bd.n_texts = 1;
    bd.vocab_size = 340;
    bd.specials = specials;
    bd.n_specials = 3;
    bd.ties = HYBRID_BPE_TIES_IDS;
    CHECK(!hybrid_bpe_train(NULL, &bd, &tok, NULL, NULL), "a tokenizer");
    for (k = 0; k < 2; k++) {
        td.text = templates[k];
        CHECK(!hybrid_template_create(NULL, &td, &tmpl[k], NULL), "a template");
    }
    for (line += 2 * n + 1; *line; line = p + 1, n_lines++) {
        const int which = *line - '0';
        hybrid_data_desc desc;
        hybrid_data *data;
        char *json = line + 2, *right;
        p = json + strcspn(json, "\t");
        *p = 0;
        right = p + 1;
        source = source_of(json, unhex(json));
        memset(&desc, 0, sizeof desc);
        desc.kind = HYBRID_DATA_CHAT;
        desc.sources = &source;
        desc.n_sources = 1;
        desc.tokenizer = tok;
        desc.tmpl = tmpl[which];
        desc.n_ctx = 2000;
        data = make_data(&desc);
        CHECK(!hybrid_data_next(data, 1, ids, targets, NULL), "a window");
        hybrid_data_destroy(data);
        for (n = 0; *right != '\t'; n++) { /* the last token is only a target */
            const long id = strtol(right, &right, 10);
            if (*right == '\t' ? targets[n - 1] != -1 && targets[n - 1] != id : ids[n] != id) break;
        }
        CHECK(*right == '\t', "conversation %zu: id %zu of %s", n_lines, n, json);
        p = right + 1 + strcspn(right + 1, "\n");
        for (k = 1; k < n && (right[1 + k] == '1') == (targets[k - 1] >= 0); k++) {}
        CHECK((size_t)(p - right) == n + 1 && k == n && targets[n - 1] == -1, "conversation %zu: token %zu of %zu, %s",
              n_lines, k, n, json);
    }
    CHECK(n_lines == 30, "%zu conversations", n_lines);
    hybrid_template_destroy(tmpl[0]);
    hybrid_template_destroy(tmpl[1]);
    hybrid_tokenizer_destroy(tok);
    free(all);
}

/* Tokenizers that change the text: SentencePiece puts a space in front, Qwen's normalizes. */
static void test_other_tokenizers(void)
{
    static const char *const pieces[] = {
        "<unk>", "<s>", "</s>", "\xE2\x96\x81", "u", "H", "i", "a", "Y", "o", "2", "4"
    };
    static const char accents[] = "{\"messages\":[{\"role\":\"assistant\",\"content\":\"y\"},"
                                  "{\"role\":\"user\",\"content\":\"e\xCC\x81 more\"},"
                                  "{\"role\":\"assistant\",\"content\":\"o\xCC\x88\"}]}";
    static const char *const right[] = { "|<s>uHi</s>a[Yo</s>]u2</s>a[4</s>]",
                                         "|a[y</s>]u\xC3\xA9 more"
                                         "a[\xC3\xB6</s>]" /* an uncounted token 0 is not shown */ };
    static char out[2000];
    hybrid_string tokens_of[HYB_COUNT(pieces)];
    uint8_t types[HYB_COUNT(pieces)];
    hybrid_tokenizer_desc sd;
    hybrid_bpe_desc bd;
    hybrid_template_desc td;
    hybrid_template *tmpl = NULL;
    hybrid_source nothing = source_of("", 0);
    size_t i;
    TEST("conversations, tokenizers that change the text");
    memset(&sd, 0, sizeof sd);
    memset(&bd, 0, sizeof bd);
    memset(&td, 0, sizeof td);
    for (i = 0; i < HYB_COUNT(pieces); i++) {
        tokens_of[i].data = pieces[i];
        tokens_of[i].size = strlen(pieces[i]);
        types[i] = (uint8_t)(i == 0 ? HYBRID_TOKEN_UNKNOWN : i < 3 ? HYBRID_TOKEN_CONTROL : HYBRID_TOKEN_NORMAL);
    }
    sd.model = "spm";
    sd.tokens = tokens_of;
    sd.types = types;
    sd.n_tokens = HYB_COUNT(pieces);
    sd.add_bos = true;
    bd.texts = &nothing;
    bd.n_texts = 1;
    bd.vocab_size = 257;
    bd.specials = &names[4];
    bd.n_specials = 1;
    bd.pre = "qwen2";
    td.text = "{% for m in messages %}{{ m.role[0] + m.content + '</s>' }}{% endfor %}"
              "{% if add_generation_prompt %}a{% endif %}";
    CHECK(!hybrid_template_create(NULL, &td, &tmpl, NULL), "a template");
    for (i = 0; i < 2; i++) {
        hybrid_source source = i ? source_of(accents, sizeof accents - 1) : source_of(TALK, sizeof TALK - 1);
        hybrid_tokenizer *tok = NULL;
        hybrid_data_desc desc;
        hybrid_data_info info;
        hybrid_data *data;
        CHECK(!(i ? hybrid_bpe_train(NULL, &bd, &tok, NULL, NULL) : hybrid_tokenizer_create(NULL, &sd, &tok, NULL)),
              "tokenizer %zu", i);
        memset(&desc, 0, sizeof desc);
        desc.kind = HYBRID_DATA_CHAT;
        desc.sources = &source;
        desc.n_sources = 1;
        desc.tokenizer = tok;
        desc.tmpl = tmpl;
        desc.n_ctx = 40;
        data = make_data(&desc);
        show(data, tok, out);
        CHECK(!strcmp(out, right[i]), "case %zu\n    ours   %s\n    right  %s", i, out, right[i]);
        hybrid_data_describe(data, &info);
        CHECK(info.n_targets == 5, "case %zu: %d targets", i, (int)info.n_targets); /* no space that was not there */
        hybrid_data_destroy(data);
        hybrid_tokenizer_destroy(tok);
    }
    hybrid_template_destroy(tmpl);
}

typedef struct bad_lines {
    char said[2000];
    size_t n;
    int most; /* that are skipped */
} bad_lines;

static bool hear_bad(void *user, size_t source, uint64_t line, const char *why)
{
    bad_lines *b = (bad_lines *)user;
    b->n += (size_t)snprintf(b->said + b->n, sizeof b->said - b->n, "%d:%d %s\n", (int)source, (int)line, why);
    return b->most-- > 0;
}

static void test_bad_lines(void)
{
    static const char file[] =
        "\xEF\xBB\xBF" TALK "\r\n\n  \n{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n{\"mess\n"
        "[]\n{\"messages\":[7]}\n" TALK "\n{\"messages\":[{\"role\":7}]}\n{\"messages\":{}}";
    static const char *const says[] = { "0:4 the assistant says nothing\n",
                                        "0:5 JSON",
                                        "0:6 there is no list",
                                        "0:7 a message is not",
                                        "0:9 a message is not",
                                        "0:10 there is no list",
                                        "1:4 the assistant" };
    hybrid_tokenizer *tok = make_tokenizer("</s>", false);
    hybrid_template *tmpl = NULL;
    hybrid_source sources[2];
    hybrid_data_desc desc;
    hybrid_data_info info;
    hybrid_data *data;
    hybrid_error e = { HYBRID_OK, 0, "" };
    bad_lines b;
    size_t i;
    TEST("bad lines");
    CHECK(!hybrid_template_create(NULL, NULL, &tmpl, NULL), "template");
    sources[0] = sources[1] = source_of(file, sizeof file - 1);
    memset(&desc, 0, sizeof desc);
    memset(&b, 0, sizeof b);
    desc.kind = HYBRID_DATA_CHAT;
    desc.sources = sources;
    desc.n_sources = 2;
    desc.tokenizer = tok;
    desc.tmpl = tmpl;
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "line 4 of source 0"),
          "%s", e.message);
    desc.bad_line = hear_bad;
    desc.user = &b;
    b.most = 7;
    CHECK(hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "line 5 of source 1"),
          "%s", e.message);
    b.most = 100;
    b.n = 0;
    CHECK(!hybrid_data_create(NULL, &desc, &data, &e), "%s", e.message);
    for (i = 0; i < HYB_COUNT(says); i++) CHECK(strstr(b.said, says[i]), "'%s' is not in\n%s", says[i], b.said);
    hybrid_data_describe(data, &info);
    CHECK(info.n_bad == 12 && info.n_documents == 4, "%d bad lines, %d conversations", (int)info.n_bad,
          (int)info.n_documents);
    hybrid_data_destroy(data);
    hybrid_template_destroy(tmpl);
    hybrid_tokenizer_destroy(tok);
}

/* What an assistant says is made of the letter that its message counts as much as. */
#define SAYS(weight, letters) "{\"role\":\"assistant\",\"content\":\"" letters "\"" weight "},"
#define ASKS                  "{\"role\":\"user\",\"content\":\"?\",\"weight\":0.75},"
static float letter_weight(int32_t letter)
{
    return letter == 'A' ? 0.25f : letter == 'B' ? 0.5f : letter == 'C' ? 1.0f / 3 : 1;
}

enum { FIRST_BYTE = 5 }; /* the token of '!', behind those with names */
static void check_weights(hybrid_data *data, int32_t n_ctx, int n_letters)
{
    static int32_t ids[64], targets[64], again[64], more[64];
    static float weights[64];
    const hybrid_data_position begin = { 0, 0 };
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_data_info info;
    int32_t k, letter = 0;
    int found = 0;
    uint64_t i;
    hybrid_data_describe(data, &info);
    for (i = 0; i < info.n_windows; i++) {
        CHECK(!hybrid_data_next_weighted(data, 1, ids, targets, weights, &e), "%s", e.message);
        for (k = 0; k < n_ctx; k++) {
            const int32_t said = targets[k] - FIRST_BYTE + '!'; /* the letter, if it is one */
            const bool is_letter = said >= 'A' && said <= 'F';
            float right = 0;
            if (is_letter) letter = said;
            if (targets[k] >= 0) right = letter_weight(letter); /* of the token that ends a turn, too */
            CHECK(weights[k] == right, "window %d, target %d (%d): %g, not %g", (int)i, (int)k, (int)targets[k],
                  (double)weights[k], (double)right);
            CHECK(!is_letter || letter != 'D', "what counts nothing is a target");
            found += is_letter;
        }
    }
    CHECK(found == n_letters, "%d letters, not %d", found, n_letters);
    CHECK(!hybrid_data_seek(data, begin, &e), "%s", e.message);
    for (i = 0; i < info.n_windows; i++) {
        CHECK(!hybrid_data_next(data, 1, again, more, &e), "%s", e.message);
        if (i + 1 == info.n_windows) CHECK(!memcmp(ids, again, 4 * (size_t)n_ctx), "other windows without weights");
    }
    CHECK(hybrid_data_next_weighted(data, 1, ids, targets, NULL, &e) == HYBRID_ERROR_INVALID, "no room for weights");
}

static void test_weights(void)
{
    static const char *const templates[] = {
        "{% for m in messages %}{{ m.role[0] + m.content + '</s>' }}{% endfor %}"
        "{% if add_generation_prompt %}a{% endif %}",
        /* every turn a conversation of its own */
        "{% for m in messages %}{{ m.role[0] + m.content }}{% if m.role == 'assistant' and loop.last %}{{ '-' }}"
        "{% endif %}{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}a{% endif %}"
    };
    static const char file[] = "{\"messages\":[" ASKS SAYS(",\"weight\":0.25", "AAAA") ASKS SAYS(",\"weight\":1", "EEE")
        ASKS SAYS("", "FF") ASKS SAYS(",\"weight\":0", "DDDD") ASKS
        "{\"role\":\"user\",\"content\":\"\"}]}\n"
        "{\"messages\":[" ASKS SAYS(",\"weight\":0.5", "BB")
            ASKS SAYS(",\"weight\":2", "AAAA") "7]}\n"
                                               "{\"messages\":[" ASKS SAYS(",\"weight\":-0.5", "BB") ASKS
        "7]}\n"
        "{\"messages\":[" ASKS SAYS(",\"weight\":\"0.5\"", "BB")
            ASKS SAYS("", "FF") "{\"role\":\"user\"}]}\n"
                                "{\"messages\":[" ASKS SAYS(",\"weight\":null", "EEEEE") ASKS SAYS(
                                    ",\"weight\":0.5",
                                    "BBBBBBB") "{\"role\":\"user\",\"content\":\"\"}]}\n"
                                               "{\"messages\":[" SAYS(",\"weight\":0.3333333333333333",
                                                                      "CCC") "{\"role\":\"user\",\"content\":\"\"}]}\n";
    hybrid_tokenizer *tok = make_tokenizer("</s>", false);
    hybrid_source source = source_of(file, sizeof file - 1);
    hybrid_template_desc td;
    size_t i;
    int32_t n_ctx;
    TEST("weights");
    for (i = 0; i < 2; i++)
        for (n_ctx = 3; n_ctx <= 64; n_ctx = n_ctx * 2 + 1) {
            hybrid_template *tmpl = NULL;
            hybrid_data_desc desc;
            hybrid_data_info info;
            hybrid_data *data;
            bad_lines b;
            memset(&td, 0, sizeof td);
            memset(&desc, 0, sizeof desc);
            memset(&b, 0, sizeof b);
            td.text = templates[i];
            CHECK(!hybrid_template_create(NULL, &td, &tmpl, NULL), "template %d", (int)i);
            b.most = 10;
            desc.kind = HYBRID_DATA_CHAT;
            desc.sources = &source;
            desc.n_sources = 1;
            desc.tokenizer = tok;
            desc.tmpl = tmpl;
            desc.n_ctx = n_ctx;
            desc.in_order = true;
            desc.bad_line = hear_bad;
            desc.user = &b;
            data = make_data(&desc);
            hybrid_data_describe(data, &info);
            CHECK(info.n_bad == 3 && strstr(b.said, "from 0 to 1"), "%s", b.said);
            check_weights(data, n_ctx, 4 + 3 + 2 + 5 + 7 + 3);
            hybrid_data_destroy(data);
            hybrid_template_destroy(tmpl);
        }
    hybrid_tokenizer_destroy(tok);
}

/* A line whose second answer cannot be found leaves nothing of its first. */
static void test_half_lines(void)
{
    static const char text[] =
        "{% for m in messages %}{% if m.content == 'X' %}{{ 'zzz' }}{% else %}{{ m.role[0] }}"
        "{% if m.role == 'assistant' and loop.last %}{{ '(t)' }}{% endif %}{{ m.content + '</s>' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}a{% endif %}";
    static const char file[] = "{\"messages\":[{\"role\":\"assistant\",\"content\":\"one\"},"
                               "{\"role\":\"user\",\"content\":\"two\"},{\"role\":\"assistant\",\"content\":\"X\"}]}\n"
                               "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},"
                               "{\"role\":\"assistant\",\"content\":\"good\"}]}";
    static char out[500];
    hybrid_tokenizer *tok = make_tokenizer("</s>", false);
    hybrid_source source = source_of(file, sizeof file - 1);
    hybrid_template *tmpl = NULL;
    hybrid_template_desc td;
    hybrid_data_desc desc;
    hybrid_data *data;
    bad_lines b;
    TEST("half of a line");
    memset(&td, 0, sizeof td);
    memset(&desc, 0, sizeof desc);
    memset(&b, 0, sizeof b);
    td.text = text;
    CHECK(!hybrid_template_create(NULL, &td, &tmpl, NULL), "template");
    desc.kind = HYBRID_DATA_CHAT;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.tokenizer = tok;
    desc.tmpl = tmpl;
    desc.n_ctx = 40;
    desc.bad_line = hear_bad;
    desc.user = &b;
    b.most = 1;
    data = make_data(&desc);
    show(data, tok, out);
    CHECK(!strcmp(out, "|uhello</s>a[(t)good</s>]"), "%s", out);
    CHECK(strstr(b.said, "0:1 the template does not show"), "%s", b.said);
    hybrid_data_destroy(data);
    hybrid_template_destroy(tmpl);
    hybrid_tokenizer_destroy(tok);
}

/* Token files whose documents begin with a token: they do not see the end of the one before. */
static void test_beginnings(void)
{
    static const uint16_t ids_of[] = { 3, 100, 101, 4, 3, 102, 4, 103 }; /* <s> d e </s> <s> f </s> g */
    static char out[500];
    hybrid_tokenizer *tok = make_tokenizer("</s>", true);
    hybrid_source source = source_of(ids_of, sizeof ids_of);
    hybrid_data_desc desc;
    hybrid_data *data;
    TEST("tokens that begin documents");
    memset(&desc, 0, sizeof desc);
    desc.kind = HYBRID_DATA_U16;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.tokenizer = tok;
    desc.n_ctx = 8;
    desc.in_order = true;
    data = make_data(&desc);
    show(data, tok, out);
    CHECK(!strncmp(out, "|<s>[", 5) && strstr(out, "</s>]|<s>[") && strstr(out, "|</s>["), "%s", out);
    hybrid_data_destroy(data);
    hybrid_tokenizer_destroy(tok);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

typedef struct tape {
    const char *data;
    int closed, reads, fail_at, told, stop_at;
    hybrid_data *busy;
} tape;

static bool tape_read(void *user, uint64_t offset, void *dst, size_t n)
{
    tape *t = (tape *)user;
    hybrid_error e;
    int32_t id;
    if (++t->reads == t->fail_at) return false;
    if (t->busy)
        CHECK(hybrid_data_next(t->busy, 1, &id, &id, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in use"),
              "in use");
    memcpy(dst, t->data + offset, n);
    return true;
}
static void tape_close(void *user) { ((tape *)user)->closed++; }
static bool tape_told(void *user, float fraction)
{
    HYB_UNUSED(fraction);
    return ++((tape *)user)->told != ((tape *)user)->stop_at;
}

/* Every allocation and every read fails once, the host stops it once: nothing is left, and readers are closed. */
static void test_failures(void)
{
    static const char text[] = "one two<|endoftext|>three four five six seven<|endoftext|>eight",
                      talk[] = TALK "\n" TALK;
    static int32_t ids[40], targets[40];
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_tokenizer *tok = make_tokenizer("<|endoftext|>", false);
    hybrid_template *tmpl = NULL;
    hybrid_data *data;
    hybrid_error e = { HYBRID_OK, 0, "" };
    meter m = { 1000000, 0 };
    int kind, way;
    long blocks;
    TEST("failures");
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = meter_alloc;
    rd.allocator.free = meter_free;
    rd.allocator.user = &m;
    CHECK(!hybrid_runtime_create(&rd, &rt, NULL), "runtime");
    CHECK(!hybrid_template_create(rt, NULL, &tmpl, NULL), "template");
    blocks = m.blocks;
    for (kind = HYBRID_DATA_TEXT; kind <= HYBRID_DATA_CHAT; kind++)
        for (way = 0; way < 4; way++) { /* memory, reads, progress, max_bytes */
            hybrid_result r = HYBRID_ERROR_IO;
            long k;
            for (k = way == 0 ? 0 : 1; r && k < 3000; k = way == 3 ? k * 2 : k + 1) {
                hybrid_data_desc desc;
                hybrid_source source;
                tape t;
                memset(&desc, 0, sizeof desc);
                memset(&source, 0, sizeof source);
                memset(&t, 0, sizeof t);
                t.data = kind == HYBRID_DATA_CHAT ? talk : text;
                source.reader.size = kind == HYBRID_DATA_CHAT ? sizeof talk - 1 : (sizeof text - 1) / 4 * 4;
                source.reader.read_at = tape_read;
                source.reader.close = tape_close;
                source.reader.user = &t;
                desc.kind = (hybrid_data_kind)kind;
                desc.sources = &source;
                desc.n_sources = 1;
                desc.tokenizer = kind == HYBRID_DATA_TEXT || kind == HYBRID_DATA_CHAT ? tok : NULL;
                desc.tmpl = tmpl;
                desc.n_ctx = 10;
                desc.validation = 0.4f;
                desc.progress = tape_told;
                desc.user = &t;
                m.until = way == 0 ? k : 1000000;
                t.fail_at = way == 1 ? (int)k : 0;
                t.stop_at = way == 2 ? (int)k : 0;
                desc.max_bytes = way == 3 ? (uint64_t)k * 50 : 0;
                e.message[0] = 0;
                r = hybrid_data_create(rt, &desc, &data, &e);
                CHECK(!r == !!data, "a handle");
                CHECK(!r || r == (way == 0   ? HYBRID_ERROR_MEMORY
                                  : way == 1 ? HYBRID_ERROR_IO
                                  : way == 2 ? HYBRID_ERROR_CANCELLED
                                             : HYBRID_ERROR_LIMIT),
                      "kind %d, way %d, time %ld: %d %s", kind, way, k, r, e.message);
                if (data) {
                    t.busy = data;
                    t.fail_at = 0;
                    CHECK(!hybrid_data_next(data, 3, ids, targets, &e), "%s", e.message);
                }
                hybrid_data_destroy(data);
                CHECK(t.closed == 1, "kind %d, way %d, time %ld: closed %d times", kind, way, k, t.closed);
                CHECK(m.blocks == blocks, "kind %d, way %d, time %ld: %ld blocks are left", kind, way, k,
                      m.blocks - blocks);
            }
            CHECK(!r && (k > 2 || way == 1), "kind %d, way %d: at last it works, after %ld", kind, way, k);
        }
    m.until = 1000000;
    hybrid_template_destroy(tmpl);
    hybrid_runtime_destroy(rt);
    hybrid_tokenizer_destroy(tok);
    CHECK(!m.blocks, "%ld blocks", m.blocks);
}

static void test_refusals(void)
{
    hybrid_tokenizer *tok = make_tokenizer("</s>", false);
    hybrid_source source = source_of("abc", 3);
    hybrid_data_desc desc;
    hybrid_data *data;
    hybrid_data_info info;
    hybrid_error e;
    int32_t ids[3], targets[3];
    int i;
    TEST("refusals");
    for (i = 0; i < 12; i++) {
        static const char *const says[] = { "no sources",      "no such kind",   "need a tokenizer",
                                            "need a template", "across",         "n_ctx",
                                            "n_ctx",           "n_vocab is neg", "another model",
                                            "validation",      "validation",     "" };
        memset(&desc, 0, sizeof desc);
        desc.sources = &source;
        desc.n_sources = 1;
        desc.tokenizer = tok;
        desc.n_ctx = 3;
        if (i == 0) desc.n_sources = 0;
        if (i == 1) desc.kind = (hybrid_data_kind)4;
        if (i == 2) desc.tokenizer = NULL;
        if (i == 3 || i == 4) desc.kind = HYBRID_DATA_CHAT;
        if (i == 4) hybrid_template_create(NULL, NULL, (hybrid_template **)&desc.tmpl, NULL);
        desc.across = i == 4;
        if (i == 5) desc.n_ctx = -1;
        if (i == 6) desc.n_ctx = INT32_MAX;
        if (i == 7) desc.n_vocab = -1;
        if (i == 8) desc.n_vocab = 200;
        if (i == 9) desc.validation = 1;
        if (i == 10) desc.validation = NAN;
        e.message[0] = 0;
        CHECK((hybrid_data_create(NULL, &desc, &data, &e) == HYBRID_ERROR_INVALID) == (i < 11) &&
                  strstr(e.message, says[i]),
              "%d: %s", i, e.message);
        CHECK(!data == (i < 11), "%d", i);
        if (i == 4) hybrid_template_destroy((hybrid_template *)desc.tmpl);
    }
    CHECK(hybrid_data_validation(data, 0, 1, ids, targets, &e) == HYBRID_ERROR_INVALID &&
              strstr(e.message, "there are 0"),
          "%s", e.message);
    CHECK(hybrid_data_next(data, 1, NULL, targets, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
    CHECK(hybrid_data_next(data, -1, ids, targets, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
    CHECK(!hybrid_data_next(data, 0, NULL, NULL, &e), "%s", e.message);
    CHECK(hybrid_data_next(NULL, 0, NULL, NULL, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
    hybrid_data_describe(NULL, &info);
    CHECK(!info.n_windows && !hybrid_data_where(NULL).index, "of nothing");
    hybrid_data_destroy(data);
    hybrid_data_destroy(NULL);
    hybrid_tokenizer_destroy(tok);
}

int main(void)
{
    test_permutation();
    test_tokens();
    test_positions();
    test_files();
    test_texts();
    test_conversations();
    test_words_of_strangers();
    test_transformers();
    test_other_tokenizers();
    test_bad_lines();
    test_weights();
    test_half_lines();
    test_beginnings();
    test_failures();
    test_refusals();
    return test_end();
}
