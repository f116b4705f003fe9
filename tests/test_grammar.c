/* Grammars: which texts they match, against a recognizer in Python (random grammars, all short texts) and llama.cpp's
 * cases; what is refused, and where; limits; memory that runs out. */
#include "private.h"

static hybrid_runtime *rt;

static hybrid_result gbnf(const char *text, hybrid_grammar **g, hybrid_error *err)
{
    hybrid_grammar_desc d;
    memset(&d, 0, sizeof d);
    d.gbnf = text;
    return hybrid_grammar_create(rt, &d, g, err);
}

/* 2: a text of the grammar; 1: the beginning of one; 0: neither; -1: an error. */
static int verdict(hybrid_matcher *m, const char *text, size_t n)
{
    hybrid_result r;
    hybrid_matcher_reset(m);
    r = hybrid_matcher_accept(m, text, n, NULL);
    return r == HYBRID_ERROR_FORMAT ? 0 : r ? -1 : hybrid_matcher_can_end(m) ? 2 : 1;
}

/* The same in one go for a grammar that must be right. */
static int matches(const char *grammar, const char *text)
{
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    int v;
    if (gbnf(grammar, &g, &err)) {
        printf("%s: %s\n", grammar, err.message);
        return -2;
    }
    CHECK(!hybrid_matcher_create(g, &m, &err), "%s", err.message);
    v = verdict(m, text, strlen(text));
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    return v;
}

/* ---- random grammars, all short texts ---- */

/* Text number i of all over a and b, the short ones first; its length. */
static size_t text_of(uint32_t i, char text[8])
{
    size_t n = 0, k;
    uint32_t first = 0, count = 1;
    while (i >= first + count) {
        first += count;
        count *= 2;
        n++;
    }
    for (k = 0; k < n; k++) text[k] = (i - first) >> (n - 1 - k) & 1 ? 'b' : 'a';
    text[n] = 0;
    return n;
}

static void compare(const char *grammar, const char *want, uint32_t n)
{
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    char text[8];
    uint32_t i, j, wrong = 0, lost = 0;
    if (gbnf(grammar, &g, &err)) {
        CHECK(false, "%s: %s", grammar, err.message);
        return;
    }
    CHECK(!hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (i = 0; i < n; i++) {
        const size_t size = text_of(i, text);
        const int v = verdict(m, text, size);
        if ((v == 2) != (want[i] == '1') && !wrong++)
            CHECK(false, "%s: \"%s\" is %s one of its texts, but the verdict is %d", grammar, text,
                  want[i] == '1' ? "" : "not", v);
        /* the beginning of a text must be seen as one */
        for (j = 0; j < n && want[i] == '1'; j++) {
            char begin[8];
            const size_t k = text_of(j, begin);
            if (k < size && !memcmp(begin, text, k) && verdict(m, begin, k) < 1) lost++;
        }
    }
    CHECK(!wrong && !lost, "%s: %u texts wrong, %u beginnings", grammar, wrong, lost);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

static void oracle(void)
{
    size_t n;
    char *text = read_file("tests/oracle/data/grammar.json", &n);
    hybrid_grammar *g;
    hyb_json_doc doc;
    hybrid_error err;
    const hyb_json *row;
    uint32_t i, refused = 0;
    TEST("what a recognizer in Python says");
    if (!text) {
        SKIP("no tests/oracle/data/grammar.json: run from the root of the repository");
        return;
    }
    CHECK(!hyb_json_parse(rt, text, n, 8, 100000, &doc, &err), "%s", err.message);
    for (i = 0, row = hyb_json_first(doc.root); i < doc.root->n; i++, row = hyb_json_next(row)) {
        const hyb_json *grammar = hyb_json_first(row), *want = hyb_json_next(grammar);
        if (want->type == HYB_JSON_STRING) {
            compare(grammar->u.s, want->u.s, want->n);
            continue;
        }
        refused++;
        CHECK(gbnf(grammar->u.s, &g, &err) == HYBRID_ERROR_FORMAT && !g && strstr(err.message, "left recursion"),
              "%s: %s", grammar->u.s, err.message);
    }
    CHECK(i == 400 && refused > 3, "%u grammars, %u refused", i, refused);
    hyb_json_free(&doc);
    free(text);
}

/* ---- llama.cpp's cases ---- */

static void llama_cases(const hyb_json *cases)
{
    const hyb_json *row, *text;
    uint32_t i, j, passed = 0, failed = 0;
    for (i = 0, row = hyb_json_first(cases); i < cases->n; i++, row = hyb_json_next(row)) {
        const hyb_json *pass = hyb_json_get(row, "pass"), *fail = hyb_json_get(row, "fail");
        const hyb_json *grammar = hyb_json_get(row, "grammar");
        hybrid_grammar *g;
        hybrid_matcher *m;
        hybrid_error err;
        if (!grammar) continue;
        CHECK(!gbnf(grammar->u.s, &g, &err), "%s: %s", grammar->u.s, err.message);
        if (!g) continue;
        CHECK(!hybrid_matcher_create(g, &m, &err), "%s", err.message);
        for (j = 0, text = hyb_json_first(pass); j < pass->n; j++, text = hyb_json_next(text), passed++)
            CHECK(verdict(m, text->u.s, text->n) == 2, "%s must match: %s", grammar->u.s, text->u.s);
        for (j = 0, text = hyb_json_first(fail); j < fail->n; j++, text = hyb_json_next(text), failed++)
            CHECK(verdict(m, text->u.s, text->n) < 2, "%s must not match: %s", grammar->u.s, text->u.s);
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
    }
    printf("llama.cpp, GBNF: %u texts match, %u do not\n", passed, failed);
}

static void llama(void)
{
    static const char *const files[][3] = {
        { "arithmetic", "(2+b)*3= a1\n", "(2+b*3= a1\n" },
        { "c", "int main(){return x;}", "int main(){return x}" },
        { "chess", "1. e4 e5\n2. Nf3 Nc6\n", "1. e9 e5\n2. Nf3 Nc6\n" },
        { "english", "so it goes, [in] \"this\" world", "na\xC3\xAFve" },
        { "japanese", "\xE3\x81\x82\xE3\x83\x8F \xE4\xB8\x80", "\xE3\x81\x82x" },
        { "json", "{\"a\": [1, -2.5e+3, \"\\u00e9\\n\", null], \"b\":{}}", "{\"a\": [1, -2.5e+3, \"\\x\"]}" },
        { "json_arr", "[\n1,\n{\"a\": true}]", "[1,\n{\"a\": true}]" },
        { "list", "- one\n- two\n", "- one\n-two\n" },
    };
    size_t n, i;
    const char *path = data_path("grammar/llamacpp-grammar-cases.json");
    char *text = read_file(path, &n), name[64];
    hybrid_error err;
    hybrid_grammar *g;
    hyb_json_doc doc;
    const hyb_json *bad, *row;
    TEST("llama.cpp's cases");
    if (!text) {
        SKIP("no grammar/llamacpp-grammar-cases.json in the data (HYBRID_DATA)");
        return;
    }
    CHECK(!hyb_json_parse(rt, text, n, 16, 100000, &doc, &err), "%s", err.message);
    llama_cases(hyb_json_get(doc.root, "cases"));
    bad = hyb_json_get(doc.root, "invalid_grammars");
    for (i = 0, row = hyb_json_first(bad); i < bad->n; i++, row = hyb_json_next(row))
        CHECK(gbnf(row->u.s, &g, &err) == HYBRID_ERROR_FORMAT && !g, "%s was not refused", row->u.s);
    hyb_json_free(&doc);
    free(text);
    for (i = 0; i < HYB_COUNT(files); i++) {
        snprintf(name, sizeof name, "grammar/gbnf/%s.gbnf", files[i][0]);
        text = read_file(data_path(name), &n);
        CHECK(text && matches(text, files[i][1]) == 2 && matches(text, files[i][2]) < 2, "%s", name);
        free(text);
    }
}

/* ---- what is written how ---- */

static void notation(void)
{
    TEST("notation");
    CHECK(matches("root ::= \"\\x41\\u00e9\\U0001F600\\n\\\"\"", "A\xC3\xA9\xF0\x9F\x98\x80\n\"") == 2, "escapes");
    CHECK(matches("root ::= [\\]\\[a-c\\x2D^]+", "]-[^ab") == 2, "a class with escapes");
    CHECK(matches("root ::= [^\\n]", "\n") == 0 && matches("root ::= [^\\n]", "\xEF\xBF\xBF") == 2, "others");
    CHECK(matches("root ::= [\xC3\xA4-\xC3\xB6]", "\xC3\xA5") == 2, "a range beyond ASCII");
    CHECK(matches("root ::= [\xC3\xA4-\xC3\xB6]", "\xC3\xB7") == 0, "and outside of it");
    CHECK(matches("root ::= .", "\xED\xA0\x80") == 0 && matches("root ::= .", "\xC0\x80") == 0, "not UTF-8");
    CHECK(matches("root ::= .", "\xF4\x90\x80\x80") == 0 && matches("root ::= .", "\xE2\x82") == 1, "not whole");
    CHECK(matches("# a comment\nx ::= \"b\" # one\n\nroot ::= (\n \"a\" # two\n x) |\n \"c\"\n", "ab") == 2, "lines");
    CHECK(matches("root ::= \"a\" x?\nx ::=\n", "a") == 2 && matches("root ::= |\"a\"", "") == 2, "nothing");
    CHECK(matches("root ::= [a-]\r\n", "-") == 2 && matches("root ::= [-a]", "-") == 2, "a hyphen at an end");
    CHECK(matches("root ::= \"a\"{2,}", "a") == 1 && matches("root ::= \"a\"{2,}", "aaaaa") == 2, "{2,}");
    CHECK(matches("root ::= (\"a\"{2} \"b\"){0,2}", "aabaab") == 2, "{0,2}");
    CHECK(matches("root ::= (\"a\"{2} \"b\"){0,2}", "aabaaba") == 0, "{0,2} and no more");
    CHECK(matches("root ::= [a-c] [b-d]\nunused ::= \"x\" unused", "bd") == 2, "an unused rule that never ends");
}

/* Ranges of code points, cut into UTF-8: their ends, their neighbours, and others in between. */
static void ranges(void)
{
    static const uint32_t edges[] = { 0,       1,       0x41,    0x7F,    0x80,     0xBF,    0xFF,
                                      0x7FF,   0x800,   0xFFF,   0x1000,  0xD7FF,   0xE000,  0xFFFF,
                                      0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF };
    uint64_t seed = 1;
    uint32_t i, k, wrong = 0;
    TEST("ranges of characters");
    for (i = 0; i < 300; i++) {
        hybrid_grammar *g;
        hybrid_matcher *m;
        char text[64];
        uint32_t bound[2], swap;
        for (k = 0; k < 2; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bound[k] =
                i < 200 ? edges[(seed >> 33) % HYB_COUNT(edges)] + (uint32_t)(seed >> 60) : (uint32_t)(seed >> 43);
            bound[k] = bound[k] > 0x10FFFF ? 0x10FFFF : bound[k] - 0xD800 < 0x800 ? 0xE000 : bound[k];
        }
        swap = bound[0];
        bound[0] = HYB_MIN(swap, bound[1]);
        bound[1] = HYB_MAX(swap, bound[1]);
        snprintf(text, sizeof text, "root ::= [%s\\U%08X-\\U%08X]", i & 1 ? "^" : "", bound[0], bound[1]);
        CHECK(!gbnf(text, &g, NULL) && !hybrid_matcher_create(g, &m, NULL), "%s", text);
        for (k = 0; k < 400; k++) {
            uint32_t code =
                k < 8 ? bound[k & 1] + (k >> 1) - 2 : edges[k % HYB_COUNT(edges)] + k / HYB_COUNT(edges) - 8;
            char c[4];
            size_t n;
            if (code > 0x10FFFF || code - 0xD800 < 0x800) continue;
            n = hyb_utf8_write(code, c);
            wrong += (verdict(m, c, n) == 2) != ((bound[0] <= code && code <= bound[1]) != (i & 1));
        }
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
    }
    CHECK(!wrong, "%u characters wrong", wrong);
}

/* A wrong grammar: the sentence names the line, and says what is wrong. */
static void wrong(const char *text, hybrid_result want, const char *words)
{
    hybrid_grammar *g = (hybrid_grammar *)&rt;
    hybrid_error err;
    hybrid_result r = gbnf(text, &g, &err);
    if (!r) hybrid_grammar_destroy(g);
    CHECK(r == want && !g && strstr(err.message, words), "%s: %d, %s; wanted: %s", text, r, r ? err.message : "",
          words);
}

static void refused(void)
{
    TEST("what is refused");
    wrong("root ::= x\n", HYBRID_ERROR_FORMAT, "line 1: there is no rule \"x\"");
    wrong("x ::= \"a\"", HYBRID_ERROR_FORMAT, "no rule \"root\"");
    wrong("", HYBRID_ERROR_FORMAT, "no rule \"root\"");
    wrong("root ::= \"a\"\nroot ::= \"b\"", HYBRID_ERROR_FORMAT, "line 2: this rule is there already");
    wrong("root ::= \"a", HYBRID_ERROR_FORMAT, "line 1: the text ends");
    wrong("root ::= \n(\"a\"\n", HYBRID_ERROR_FORMAT, "a group is not closed");
    wrong("root ::= \"a\")", HYBRID_ERROR_FORMAT, "is expected here");
    wrong("root ::= [a-", HYBRID_ERROR_FORMAT, "line 1");
    wrong("root ::= [b-a]", HYBRID_ERROR_FORMAT, "ends before it begins");
    wrong("root ::= \"\\q\"", HYBRID_ERROR_FORMAT, "no such escape");
    wrong("root ::= \"\\x4\"", HYBRID_ERROR_FORMAT, "hexadecimal");
    wrong("root ::= \"\\uD800\"", HYBRID_ERROR_FORMAT, "no character");
    wrong("root ::= * \"a\"", HYBRID_ERROR_FORMAT, "something before it");
    wrong("root ::= \"a\"{3,2}", HYBRID_ERROR_FORMAT, "at least");
    wrong("root ::= \"a\"{x}", HYBRID_ERROR_FORMAT, "a number");
    wrong("root ::= \"a\"{1,2", HYBRID_ERROR_FORMAT, "ends with }");
    wrong("root = \"a\"", HYBRID_ERROR_FORMAT, "::= is expected");
    wrong("root ::= \"a\" root", HYBRID_ERROR_FORMAT, "never ends");
    wrong("root ::= []", HYBRID_ERROR_FORMAT, "never ends");
    wrong("root ::= b\na ::= b\nb ::= \"\" c\nc ::= a | \"x\"", HYBRID_ERROR_FORMAT, "left recursion");
    wrong("root ::= \"a\"{1000000}", HYBRID_ERROR_LIMIT, "262144");
    wrong("root ::= ((((\"a\"{99}){99}){99}){99}){99}", HYBRID_ERROR_LIMIT, "262144");
    wrong("root ::= ((((.{9})*){99}){99}){999999999999999999}", HYBRID_ERROR_LIMIT, "262144");
}

/* ---- limits ---- */

/* `count` times one text into a matcher, and the result. */
static hybrid_result feed(hybrid_matcher *m, const char *text, int count)
{
    hybrid_result r = HYBRID_OK;
    while (count-- && !r) r = hybrid_matcher_accept(m, text, strlen(text), NULL);
    return r;
}

static void deep(void)
{
    static const char nested[] = "root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\"";
    static const char two[] = "root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"x\"";
    static const char right[] = "root ::= s\ns ::= \"a\" s | \"b\" t | \"x\"\nt ::= \"c\" s";
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    uint32_t before;
    TEST("long and deep texts");
    CHECK(!gbnf(nested, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(!feed(m, "[", 6000) && !feed(m, "]", 6000) && hybrid_matcher_can_end(m), "6000 brackets");
    hybrid_matcher_reset(m);
    CHECK(feed(m, "[", 100000) == HYBRID_ERROR_LIMIT, "100000 brackets are too many");
    before = m->match.n_forgotten;
    CHECK(hybrid_matcher_accept(m, "[", 1, &err) == HYBRID_ERROR_LIMIT && strstr(err.message, "too deep"), "again");
    CHECK(m->match.n_sets <= HYB_MATCH_MAX_SETS && before > 0, "%u", before);
    hybrid_matcher_reset(m);
    CHECK(!feed(m, "[", 1) && !feed(m, "[[],[[],[]]],", 100000) && !feed(m, "[]]", 1), "a long one");
    CHECK(hybrid_matcher_can_end(m), "ends");
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    /* 2^1000 ways to read it, followed as one */
    CHECK(!gbnf(two, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(!feed(m, "a", 1000) && !feed(m, "x", 1) && !feed(m, "bc", 500) && hybrid_matcher_can_end(m), "ambiguous");
    CHECK(hybrid_matcher_accept(m, "b", 1, NULL) == HYBRID_ERROR_FORMAT && hybrid_matcher_can_end(m), "and over");
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    /* repetition by recursion does not nest */
    CHECK(!gbnf(right, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(!feed(m, "aabc", 200000) && !feed(m, "x", 1) && hybrid_matcher_can_end(m), "right recursion");
    CHECK(m->match.n_states < 20 && !m->match.n_forgotten, "%u states", (unsigned)m->match.n_states);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

static void calls(void)
{
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    char text[16];
    TEST("calls");
    CHECK(!gbnf("root ::= \"say \" (\"yes\" | \"yet\") \"!\"", &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s",
          err.message);
    CHECK(hybrid_matcher_forced(m, text, sizeof text) == 6 && !memcmp(text, "say ye", 6), "forced");
    CHECK(hybrid_matcher_forced(m, text, 3) == 3, "as far as there is room");
    CHECK(hybrid_matcher_accept(m, "say no", 6, &err) == HYBRID_ERROR_FORMAT && err.offset == 4, "%s", err.message);
    CHECK(!hybrid_matcher_accept(m, "say yet", 7, &err) && !hybrid_matcher_can_end(m), "nothing had changed");
    CHECK(hybrid_matcher_forced(m, text, sizeof text) == 1 && text[0] == '!', "forced");
    CHECK(!hybrid_matcher_accept(m, "!", 1, &err) && hybrid_matcher_can_end(m), "the end");
    CHECK(!hybrid_matcher_forced(m, text, sizeof text), "nothing follows");
    CHECK(!hybrid_matcher_accept(m, NULL, 0, &err) && hybrid_matcher_can_end(m), "nothing");
    CHECK(hybrid_matcher_accept(m, NULL, 1, &err) == HYBRID_ERROR_INVALID, "NULL");
    CHECK(hybrid_matcher_accept(NULL, "a", 1, &err) == HYBRID_ERROR_INVALID, "NULL");
    CHECK(!hybrid_matcher_can_end(NULL) && !hybrid_matcher_forced(NULL, text, 1), "NULL");
    hybrid_matcher_destroy(m);
    hybrid_matcher_destroy(NULL);
    hybrid_matcher_reset(NULL);
    hybrid_grammar_destroy(g);
    hybrid_grammar_destroy(NULL);
    CHECK(!gbnf("root ::= \"ab\" (\"cd\" [0-1])*", &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(hybrid_matcher_forced(m, text, sizeof text) == 2, "not beyond where the text may end");
    CHECK(!hybrid_matcher_accept(m, "ab", 2, &err) && !hybrid_matcher_forced(m, text, sizeof text), "it may end");
    CHECK(!hybrid_matcher_accept(m, "c", 1, &err) && hybrid_matcher_forced(m, text, sizeof text) == 1, "but not here");
    CHECK(!hybrid_matcher_accept(m, "d", 1, &err) && !hybrid_matcher_forced(m, text, sizeof text), "0 or 1");
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    CHECK(hybrid_grammar_create(rt, NULL, &g, &err) == HYBRID_ERROR_INVALID && !g, "NULL");
    CHECK(gbnf(NULL, &g, &err) == HYBRID_ERROR_INVALID && !g, "nothing to read");
    CHECK(hybrid_matcher_create(NULL, &m, &err) == HYBRID_ERROR_INVALID && !m, "NULL");
}

/* ---- memory that runs out ---- */

static size_t left;
static void *scarce_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    return left && left-- ? malloc(size) : NULL;
}
static void scarce_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

static void memory(void)
{
    static const char text[] = "{\"a\": [1, {\"b\": \"c\"}]}";
    static const char json[] =
        "root ::= v\nv ::= o | a | s | [0-9]+\no ::= \"{\" (s \": \" v (\", \" s \": \" v)*)? \"}\"\n"
        "a ::= \"[\" (v (\", \" v)*)? \"]\"\ns ::= \"\\\"\" [^\"]* \"\\\"\"\n";
    hybrid_runtime_desc d;
    hybrid_runtime *scarce;
    hybrid_grammar_desc gd;
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    size_t allowed, done = 0;
    TEST("memory that runs out");
    memset(&d, 0, sizeof d);
    memset(&gd, 0, sizeof gd);
    d.allocator.alloc = scarce_alloc;
    d.allocator.free = scarce_free;
    d.n_threads = 1;
    left = SIZE_MAX;
    gd.gbnf = json;
    CHECK(!hybrid_runtime_create(&d, &scarce, &err), "%s", err.message);
    for (allowed = 0; allowed < 300 && !done; allowed++) {
        hybrid_result r;
        left = allowed;
        r = hybrid_grammar_create(scarce, &gd, &g, &err);
        CHECK(!r || (r == HYBRID_ERROR_MEMORY && !g), "%s", err.message);
        if (r) continue;
        r = hybrid_matcher_create(g, &m, &err);
        CHECK(!r || (r == HYBRID_ERROR_MEMORY && !m), "%s", err.message);
        if (!r) {
            r = hybrid_matcher_accept(m, text, strlen(text), &err);
            CHECK(!r || r == HYBRID_ERROR_MEMORY, "%s", err.message);
            CHECK(hybrid_matcher_can_end(m) == !r, "a call that fails has changed nothing");
            done = !r;
            left = SIZE_MAX;
            if (r)
                CHECK(!hybrid_matcher_accept(m, text, strlen(text), &err) && hybrid_matcher_can_end(m), "%s",
                      err.message);
            hybrid_matcher_destroy(m);
        }
        hybrid_grammar_destroy(g);
    }
    CHECK(done > 0 && allowed > 20, "%u allocations", (unsigned)allowed);
    left = SIZE_MAX;
    hybrid_runtime_destroy(scarce);
}

/* ---- masks ---- */

static const char JSON[] =
    "root ::= o\nv ::= o | a | s | n | \"true\" | \"false\" | \"null\"\nw ::= \" \"?\n"
    "o ::= \"{\" w (s \":\" w v (\",\" w s \":\" w v)*)? w \"}\"\na ::= \"[\" w (v (\",\" w v)*)? w \"]\"\n"
    "s ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\"\n"
    "n ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]{1,15})?\n";

/* Every token by itself: its bytes are tried. Returns the number of tokens that the mask has wrong. */
static uint32_t wrong_bits(hybrid_matcher *m, const hybrid_tokenizer *tok, const uint32_t *mask)
{
    const int32_t n = hybrid_vocab_size(tok);
    uint32_t wrong_ones = 0;
    int32_t id;
    for (id = 0; id < n; id++) {
        const hybrid_string s = hybrid_token_bytes(tok, id);
        const hybrid_token_type kind = hybrid_token_kind(tok, id);
        uint32_t state = m->state;
        size_t done;
        bool want;
        if (hybrid_token_is_end(tok, id))
            want = hybrid_matcher_can_end(m);
        else
            want = kind != HYBRID_TOKEN_CONTROL && kind != HYBRID_TOKEN_UNKNOWN && kind != HYBRID_TOKEN_UNUSED &&
                   s.size && !hyb_match_bytes(&m->match, &state, (const uint8_t *)s.data, s.size, &done, NULL);
        wrong_ones += (mask[id / 32] >> id % 32 & 1) != want;
    }
    return wrong_ones;
}

static void mask_at(hybrid_matcher *m, const hybrid_tokenizer *tok, const hybrid_lexicon *x, const char *text,
                    uint64_t most)
{
    const uint32_t *mask, *again;
    hybrid_error err;
    uint64_t before = m->masks.visited;
    size_t n;
    uint32_t bad;
    hybrid_matcher_reset(m);
    CHECK(!hybrid_matcher_accept(m, text, strlen(text), &err), "%s: %s", text, err.message);
    CHECK(!hybrid_matcher_mask(m, x, &mask, &n, &err) && n == x->n_words, "%s", err.message);
    before = m->masks.visited - before;
    CHECK(before <= most, "%s: %u nodes were visited, of %u and %u", text, (unsigned)before, (unsigned)x->plain.n,
          (unsigned)x->others.n);
    bad = wrong_bits(m, tok, mask);
    CHECK(!bad, "after '%s' %u tokens are wrong", text, bad);
    before = m->masks.visited;
    CHECK(!hybrid_matcher_mask(m, x, &again, &n, &err) && again == mask && m->masks.visited == before, "kept");
}

/* All along a text, each mask twice: those that were found again by their ranges, and those that were thrown away. */
static void masks_along(const hybrid_tokenizer *tok, const hybrid_lexicon *x, const char *grammar, bool schema,
                        const char *text)
{
    hybrid_grammar_desc d;
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    const uint32_t *mask;
    const size_t size = strlen(text);
    size_t n, i, round;
    uint32_t bad = 0;
    memset(&d, 0, sizeof d);
    *(schema ? &d.schema : &d.gbnf) = grammar;
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (round = 0; round < 2; round++, hybrid_matcher_reset(m))
        for (i = 0; i <= size; i++) {
            CHECK(!hybrid_matcher_mask(m, x, &mask, &n, &err), "%s", err.message);
            if (!round || i % 7 == 0) bad += wrong_bits(m, tok, mask);
            if (i < size && hybrid_matcher_accept(m, text + i, 1, &err)) {
                CHECK(false, "%s: %s", text, err.message);
                i = size;
            }
        }
    CHECK(hybrid_matcher_can_end(m) || size, "%s", text);
    CHECK(!bad, "%s along %s: %u tokens are wrong", grammar, text, bad);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

/* Grammars that count, leave out letters, digits or characters, or have words of their own among all others. */
static void masks_counted(const hybrid_tokenizer *tok, const hybrid_lexicon *x)
{
    static const char *const rows[][2] = {
        { "root ::= [a-z ]{1,40}", "the lighthouse stands where" },
        { "root ::= [A-Z][a-z]{1,11} (\" \" [a-z]{0,3})*", "Bulves and so on" },
        { "root ::= [A-Za-z_][A-Za-z0-9_.-]{0,20}", "theLight_house.9" },
        { "root ::= [^aeiou\\n]{1,30} \"!\"", "Th lghths f\"\\ !" },
        { "root ::= [b-y ]{3,9}", "lent of w" },
        { "root ::= [0-9a-f]{8} \"-\" [0-9A-F]{4}", "deadbeef-0AF1" },
        { "root ::= (\"name\" | \"nature\" | [a-z ]{3,60}) \":\"", "nations of:" },
        { "root ::= .{0,9}", "\xE4\xBD\xA0\xC3\xA9 \xF0\x9F\x98\x80x" },
        { "root ::= [\\u0100-\\u4FFF\\U0001F600]{2,7} \"a\"", "\xE4\xBD\xA0\xC4\x80\xF0\x9F\x98\x80" },
        { "root ::= [^\\u00E0-\\u00EF]+ [\\u00E0-\\u00EF]", "ab\xC3\xB9\xE2\x82\xAC\xC3\xA9" },
        { "root ::= ([a-z]+ [ \\n\\t]{1,3}){2,}", "so  it\n\tgoes " },
        { "root ::= [a-z]{2,4}{2,3} [a-z0-9]{5}", "lighthouseof9" },
        { "root ::= ([^x\\n] [^yk\\n] [^z\\n]?){1,60}", "yz quick" },
        { "root ::= ([^x] | \"x\"+ [^xy] | \"x\"+ \"y\" [^xz])*", "abxxyaxbyz" },
        { "root ::= ([^qx\\u00E9] | \"q\" [a-f] [^e])* \"\\u00E9\"?", "aqb4\xC3\xA9" },
        { "root ::= ([^zQ]{1,40} \"z\"){1,3} \"Q\"?", "a\xE4\xBD\xA0zbzczQ" },
        { "root ::= ([^\\u0400-\\u04FF\\nk] | \"k\" \"a\")*", "oka\xC3\xA9" },
    };
    static const char *const schemas[][2] = {
        { "{\"type\": \"object\", \"properties\": {\"t\": {\"type\": \"string\", \"maxLength\": 20}}}",
          "{\"t\": \"\\n Orrin \xC3\xA9t\xE4\xBD\xA0 \\\" x\", \"other\": [1, {\"a\": null}]}" },
        { "{\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": -5, \"maximum\": 123}, "
          "\"maxItems\": 9}",
          "[12, 3, -5, 123, 7]" },
        { "{\"properties\": {\"name\": {\"minLength\": 3}, \"nave\": true}, \"required\": [\"name\"]}",
          "{\"name\": \"abcd\", \"nap\": 1.5e+3, \"Z\": true}" },
        { "{\"format\": \"date-time\", \"type\": \"string\"}", "\"2026-11-30T17:25:00Z\"" },
    };
    size_t i;
    for (i = 0; i < HYB_COUNT(rows); i++) masks_along(tok, x, rows[i][0], false, rows[i][1]);
    for (i = 0; i < HYB_COUNT(schemas); i++) masks_along(tok, x, schemas[i][0], true, schemas[i][1]);
}

/* Counts that are not near their ends have one mask, and few nodes are looked at for that. */
static void masks_shared(const hybrid_lexicon *x)
{
    hybrid_grammar *g;
    hybrid_matcher *m;
    const uint32_t *mask = NULL, *before = NULL;
    uint64_t visited = 0;
    hybrid_error err;
    uint32_t shared = 0;
    size_t i, n;
    CHECK(!gbnf("root ::= [a-z]{1,400}", &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (i = 0; i < 300; i++, before = mask) {
        CHECK(!hybrid_matcher_mask(m, x, &mask, &n, &err) && !hybrid_matcher_accept(m, "a", 1, &err), "%s",
              err.message);
        if (i == 1) visited = m->masks.visited;
        shared += i > 1 && mask == before;
    }
    CHECK(shared == 298, "%u of 298 masks are those of the count before", shared);
    visited = (m->masks.visited - visited) / 298;
    CHECK(visited < 1024 && visited * 16 < HYB_MAX(x->plain.n, 16384), "%u nodes a mask", (unsigned)visited);
    for (i = n = 0; i < HYB_MASKS; i++) n += m->masks.kept[i].words != NULL;
    CHECK(n <= 3, "%u masks take memory", (unsigned)n);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

/* Where few letters are apart, few nodes are looked at. */
static void masks_apart(const hybrid_lexicon *x)
{
    static const char *const rows[][2] = { { "root ::= [^aeiou\\n]{1,400}", "Th lghths " },
                                           { "root ::= ([^x] | \"x\"+ [^xy] | \"x\"+ \"y\" [^xz])*", "abxxyaxb" },
                                           { "root ::= ([^q] | \"qu\")+", "light quay" } };
    hybrid_grammar *g;
    hybrid_matcher *m;
    const uint32_t *mask;
    hybrid_error err;
    size_t i, k, n;
    for (i = 0; i < HYB_COUNT(rows); i++) {
        uint64_t visited;
        CHECK(!gbnf(rows[i][0], &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
        for (k = 0; rows[i][1][k]; k++) {
            visited = m->masks.visited;
            CHECK(!hybrid_matcher_mask(m, x, &mask, &n, &err) && !hybrid_matcher_accept(m, rows[i][1] + k, 1, &err),
                  "%s", err.message);
            visited = m->masks.visited - visited;
            CHECK(visited <= x->others.n + HYB_MAX(x->plain.n / 8, 1024), "%s, %u characters: %u nodes of %u and %u",
                  rows[i][0], (unsigned)k, (unsigned)visited, (unsigned)x->plain.n, (unsigned)x->others.n);
        }
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
    }
}

/* Masks stay right when states get other numbers, because tables were full. */
static void masks_forgotten(const hybrid_tokenizer *tok, const hybrid_lexicon *x)
{
    static const char *const inner[] = { "", "<", "<ab", "(", "(0", "{x" };
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    const uint32_t *mask;
    size_t i, n;
    uint32_t bad = 0;
    CHECK(!gbnf("root ::= (v | [a-z]{1,9})+\nv ::= \"[\" v* \"]\" | \"!\" v* \"?\" | \"<\" [a-m]{0,5} \">\" | "
                "\"(\" [0-9a-z]* \")\" | \"{\" [^a]{0,9} \"}\"",
                &g, &err) &&
              !hybrid_matcher_create(g, &m, &err),
          "%s", err.message);
    for (i = 0; i < 600 && m->match.n_forgotten < 8; i++) {
        const char *text = inner[i % HYB_COUNT(inner)]; /* the beginning, which is kept, often */
        const int deep = i % HYB_COUNT(inner) ? (int)(i * 97 % 1999) : 0;
        hybrid_matcher_reset(m);
        CHECK(!feed(m, i % 4 & 1 ? "[!!" : i % 4 ? "!" : "[[!", deep), "%d deep", deep);
        CHECK(!hybrid_matcher_accept(m, text, strlen(text), &err), "%s", err.message);
        CHECK(!hybrid_matcher_mask(m, x, &mask, &n, &err), "%s", err.message);
        bad += wrong_bits(m, tok, mask);
    }
    CHECK(m->match.n_forgotten >= 8, "forgotten %u times", m->match.n_forgotten);
    CHECK(!bad, "%u tokens are wrong", bad);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

static void masks_of(const char *path)
{
    static const char *const json[] = {
        "",           "{",          "{\"",          "{\"a\\",         "{\"a\\u00",
        "{\"a\": ",   "{\"a\": [1", "{\"a\": -1.5", "{\"a\": \"\xC3", "{\"a\": {\"b\": [[\"x",
        "{\"a\": tr", "{}"
    };
    static const char *const shapes[] = { "root ::= .{0,3} \"x\"", "root ::= [^\"\\\\\\x00-\\x1F\\x7F]{2,5}",
                                          "root ::= [a-z ]*", "root ::= .{9} [0-9]*" };
    hybrid_source source;
    hybrid_gguf *gguf;
    hybrid_tokenizer *tok;
    hybrid_lexicon *x;
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    size_t i;
    memset(&source, 0, sizeof source);
    source.path = path;
    CHECK(!hybrid_gguf_open(rt, &source, &gguf, &err), "%s", err.message);
    CHECK(!hybrid_tokenizer_from_gguf(rt, gguf, &tok, &err), "%s", err.message);
    CHECK(!hybrid_lexicon_create(tok, &x, &err), "%s", err.message);
    CHECK(!gbnf(JSON, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (i = 0; i < HYB_COUNT(json); i++) mask_at(m, tok, x, json[i], x->others.n + 512);
    mask_at(m, tok, x, "{\"a\": tr", 1024); /* nearly forced: a few nodes */
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    for (i = 0; i < HYB_COUNT(shapes); i++) {
        CHECK(!gbnf(shapes[i], &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
        mask_at(m, tok, x, "", UINT64_MAX);
        mask_at(m, tok, x, "ab", UINT64_MAX);
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
    }
    masks_counted(tok, x);
    masks_shared(x);
    masks_apart(x);
    if (x->n_tokens < 1000) masks_forgotten(tok, x);
    printf("%s: %u tokens, trees of %u plain and %u other nodes, %u and %u of shapes\n", path, (unsigned)x->n_tokens,
           (unsigned)x->plain.n, (unsigned)x->others.n, (unsigned)x->plain_shapes.n, (unsigned)x->other_shapes.n);
    hybrid_lexicon_destroy(x);
    hybrid_tokenizer_destroy(tok);
    hybrid_gguf_destroy(gguf);
}

/* Tokens as long as they may be, and some that are spelled the same. */
static void masks_long(void)
{
    static char a[65536];
    hybrid_string tokens[48];
    hybrid_tokenizer_desc d;
    hybrid_tokenizer *tok;
    hybrid_lexicon *x;
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    const uint32_t *mask;
    size_t i, n;
    memset(a, 'a', sizeof a);
    memset(&d, 0, sizeof d);
    d.model = "rwkv";
    d.tokens = tokens;
    for (n = 65535; n <= 65536; n++) {
        d.n_tokens = HYB_COUNT(tokens);
        for (i = 0; i < d.n_tokens; i++) {
            tokens[i].data = i == 2 ? "b" : i == 6 ? "\"" : a;
            tokens[i].size = i == 3 ? n : i < 2 || i == 2 || i == 6 ? 1 : i == 4 ? 500 : i < 8 ? 300 : i;
        }
        CHECK(!hybrid_tokenizer_create(rt, &d, &tok, &err), "%s", err.message);
        if (n > 65535) {
            CHECK(hybrid_lexicon_create(tok, &x, &err) == HYBRID_ERROR_LIMIT && !x &&
                      strstr(err.message, "token 3 has 65536 bytes"),
                  "%s", err.message);
            hybrid_tokenizer_destroy(tok);
            continue;
        }
        CHECK(!hybrid_lexicon_create(tok, &x, &err), "%s", err.message);
        for (i = 0; i < 3; i++) {
            static const char *const grammars[] = { "root ::= \"a\"*", "root ::= [ab]{0,400}",
                                                    "root ::= .{300} \"b\"" };
            CHECK(!gbnf(grammars[i], &g, &err) && !hybrid_matcher_create(g, &m, &err) &&
                      !hybrid_matcher_mask(m, x, &mask, &n, &err),
                  "%s", err.message);
            CHECK(!wrong_bits(m, tok, mask) && (mask[0] & 3) == 3, "%s: %x", grammars[i], (unsigned)mask[0]);
            hybrid_matcher_destroy(m);
            hybrid_grammar_destroy(g);
        }
        n = 65535;
        hybrid_lexicon_destroy(x);
        hybrid_tokenizer_destroy(tok);
    }
}

static void masks(void)
{
    const char *path = data_path("vocab/ggml-vocab-qwen2.gguf");
    TEST("masks, against every token by itself");
    masks_of("examples/data/stories260K-q8_0.gguf");
    masks_long();
    if (path)
        masks_of(path);
    else
        SKIP("no vocab/ggml-vocab-qwen2.gguf in the data (HYBRID_DATA)");
}

/* ---- a trigger ---- */

/* All texts of a, b, c and d of up to 7 bytes: those without the trigger, and those that go on after its first place as
 * the grammar says; and of those that are none, how many bytes fit. */
static void triggered(const char *grammar, const char *trigger)
{
    hybrid_grammar_desc d;
    hybrid_grammar *inner, *g;
    hybrid_matcher *in, *m;
    hybrid_error err;
    uint32_t code, i, n, wrong_ones = 0, whole = 0;
    memset(&d, 0, sizeof d);
    d.gbnf = grammar;
    CHECK(!gbnf(grammar, &inner, &err) && !hybrid_matcher_create(inner, &in, &err), "%s", err.message);
    d.trigger = trigger;
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (n = 0; n <= 7; n++)
        for (code = 0; code < 1u << 2 * n; code++) {
            char text[8] = "";
            const char *at;
            bool fits, ends;
            for (i = 0; i < n; i++) text[i] = (char)('a' + (code >> 2 * i & 3));
            at = strstr(text, trigger);
            hybrid_matcher_reset(in);
            fits = !at || !hybrid_matcher_accept(in, at + strlen(trigger), strlen(at + strlen(trigger)), NULL);
            ends = !at || (fits && hybrid_matcher_can_end(in));
            hybrid_matcher_reset(m);
            if (code % 2) /* in one piece, or byte by byte */
                wrong_ones += !hybrid_matcher_accept(m, text, n, NULL) != fits;
            else {
                for (i = 0; i < n && !hybrid_matcher_accept(m, text + i, 1, NULL); i++) {}
                wrong_ones += (i == n) != fits;
            }
            if (fits) wrong_ones += hybrid_matcher_can_end(m) != ends;
            whole += at && ends;
        }
    CHECK(!wrong_ones && whole, "%s after %s: %u texts are wrong, %u whole", grammar, trigger, wrong_ones, whole);
    hybrid_matcher_destroy(m);
    hybrid_matcher_destroy(in);
    hybrid_grammar_destroy(g);
    hybrid_grammar_destroy(inner);
}

/* The masks of a grammar with a trigger: control tokens, by their names, before it alone. */
static void trigger_masks(void)
{
    hybrid_grammar_desc d;
    hybrid_model_desc md;
    hybrid_session_desc sd;
    hybrid_session *s;
    hybrid_session_info info;
    hybrid_model *model;
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_lexicon *x;
    hybrid_error err;
    const hybrid_tokenizer *tok;
    const uint32_t *mask;
    const char *piece, *found;
    char text[2000] = "";
    size_t n_words, i, n = 0;
    int32_t id;
    memset(&md, 0, sizeof md);
    memset(&sd, 0, sizeof sd);
    memset(&d, 0, sizeof d);
    md.source.path = "examples/data/stories260K-q8_0.gguf";
    CHECK(!hybrid_model_load(rt, &md, &model, &err), "%s", err.message);
    tok = hybrid_model_tokenizer(model);
    CHECK(!hybrid_lexicon_create(tok, &x, &err), "%s", err.message);
    CHECK(x->n_controls == 1 && x->controls[0].id == 1, "<s> is a control token of this vocabulary"); /* </s> ends */
    d.gbnf = "root ::= \" cat\" \" sat\"? \".\"";
    d.trigger = "<s";
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(!hybrid_matcher_mask(m, x, &mask, &n_words, &err), "%s", err.message);
    CHECK(!(mask[0] >> 1 & 1), "the name of <s> is the trigger, and goes on as the grammar may not");
    for (i = 3; i < x->n_tokens; i++)
        CHECK(mask[i / 32] >> i % 32 & 1, "token %d is not free", (int)i);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    d.trigger = "<s>";
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (i = 0; i < 2; i++) {
        CHECK(!hybrid_matcher_mask(m, x, &mask, &n_words, &err) && (mask[0] >> 1 & 1) && (mask[0] >> 2 & 1),
              "<s> and </s> are free: %s", err.message);
        CHECK(!hybrid_matcher_accept(m, "<", 1, &err) && !hybrid_matcher_accept_token(m, x, 1, &err), "%s",
              err.message);
        CHECK(!hybrid_matcher_mask(m, x, &mask, &n_words, &err) && !(mask[0] >> 1 & 3), "neither is now");
        CHECK(hybrid_matcher_accept_token(m, x, 1, &err) == HYBRID_ERROR_FORMAT, "<s>, again");
        CHECK(!hybrid_matcher_can_end(m) && !hybrid_matcher_accept(m, " cat.", 5, &err) && hyb_matcher_complete(m),
              "%s", err.message);
        hybrid_matcher_reset(m);
    }
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    /* of a session: the free text is what the model says anyhow, as long as no token goes beyond a trigger */
    d.trigger = " was";
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err), "%s", err.message);
    sd.max_tokens = 100;
    CHECK(!hybrid_session_create(model, &sd, &s, &err) && !hybrid_session_set_grammar(s, g, &err), "%s", err.message);
    hybrid_session_complete(s, "Once upon a time");
    while ((piece = hybrid_session_next(s)) != NULL && n + strlen(piece) < sizeof text) {
        strcpy(text + n, piece);
        n += strlen(piece);
    }
    hybrid_session_describe(s, &info);
    found = strstr(text, " was");
    CHECK(found && (!strcmp(found, " was cat.") || !strcmp(found, " was cat sat.")) && info.stop == HYBRID_STOP_END,
          "it says: %s", text);
    CHECK(found - text > 4, "and something before: %s", text);
    for (id = 0; id < 2; id++) { /* what an answer was without the grammar */
        hybrid_session_reset(s);
        CHECK(!hybrid_session_set_grammar(s, NULL, &err), "%s", err.message);
    }
    hybrid_session_complete(s, "Once upon a time");
    for (i = 0; (piece = hybrid_session_next(s)) != NULL && i < (size_t)(found ? found - text : 0); i += strlen(piece))
        CHECK(!strncmp(text + i, piece, strlen(piece)), "the free text is another: '%s', not '%s'", text + i, piece);
    hybrid_session_destroy(s);
    hybrid_grammar_destroy(g);
    hybrid_lexicon_destroy(x);
    hybrid_model_destroy(model);
}

static void triggers(void)
{
    static char longest[HYB_TRIGGER_LONGEST + 2];
    hybrid_grammar_desc d;
    hybrid_grammar *g;
    hybrid_error err;
    TEST("a trigger");
    triggered("root ::= \"c\" \"a\"*", "aab");
    triggered("root ::= \"a\" root? \"b\"", "aba");  /* which calls itself */
    triggered("root ::= [ab]{0,2} tail\ntail ::= \"d\" | \"aa\" root", "d");
    triggered("root ::= [a-d]*", "abab");
    memset(&d, 0, sizeof d);
    memset(longest, 'x', HYB_TRIGGER_LONGEST + 1);
    d.gbnf = "root ::= \"a\" root | root \"b\"";
    d.trigger = "<";
    CHECK(hybrid_grammar_create(rt, &d, &g, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "\"root\" can begin"),
          "%s", err.message);
    d.gbnf = "root ::= \"a\"";
    d.trigger = longest;
    CHECK(hybrid_grammar_create(rt, &d, &g, &err) == HYBRID_ERROR_INVALID && strstr(err.message, "256 bytes"), "%s",
          err.message);
    d.trigger = "";
    CHECK(hybrid_grammar_create(rt, &d, &g, &err) == HYBRID_ERROR_INVALID, "an empty one");
    d.trigger = longest + 1;
    CHECK(!hybrid_grammar_create(rt, &d, &g, &err), "%s", err.message);
    hybrid_grammar_destroy(g);
    trigger_masks();
}

/* ---- forced spans ---- */

/* The slow way: whether all tokens that may come are beginnings of the bytes that must come. */
static bool no_choice(hybrid_matcher *m, const hybrid_tokenizer *tok)
{
    uint8_t forced[HYB_FORCED_BYTES];
    uint32_t at = m->state, next, to = 0;
    size_t n, done;
    int32_t id;
    for (n = 0; n < sizeof forced && !m->match.sets[m->match.state_set[at]].end; n++, at = to) {
        int b, found = 0;
        for (b = 0; b < 256; b++) {
            const uint8_t byte = (uint8_t)b;
            next = at;
            if (hyb_match_bytes(&m->match, &next, &byte, 1, &done, NULL)) continue;
            forced[n] = byte;
            to = next;
            found++;
        }
        if (found != 1) break;
    }
    for (id = 0; id < hybrid_vocab_size(tok); id++) {
        const hybrid_string s = hybrid_token_bytes(tok, id);
        const hybrid_token_type kind = hybrid_token_kind(tok, id);
        next = m->state;
        if (kind == HYBRID_TOKEN_CONTROL || kind == HYBRID_TOKEN_UNKNOWN || kind == HYBRID_TOKEN_UNUSED || !s.size)
            continue;
        if (hyb_match_bytes(&m->match, &next, (const uint8_t *)s.data, s.size, &done, NULL)) continue;
        if (s.size > n || memcmp(s.data, forced, s.size)) return false;
    }
    return n > 0;
}

/* All along texts, byte by byte: a token is forced where the slow way says so, and is the beginning of the text. */
static void forced_tokens(const hybrid_tokenizer *tok)
{
    static const char *const rows[][2] = {
        { "root ::= \"once\" \" upon\"?", "once upon" },   /* it may stop, or go on with what is the only byte */
        { "root ::= \"once\" (\" upon a time\")*", "once upon a time upon a time" },
        { "root ::= \"the \" [st] \"aid\"", "the said" },  /* two bytes that the grammar does not tell apart */
        { "root ::= \"the s\" (\"aid\" | \"un\" | \"\")", "the sun" }, /* tokens that go beyond */
        { "root ::= \"{\\\"name\\\": \\\"\" [a-z]{3} \"\\\"}\"", "{\"name\": \"abc\"}" },
        { "root ::= \"a\"{9} \"b\"{0,3} \"c\"", "aaaaaaaaabbbc" },
        { "root ::= \"\\xC3\\xA9\" | \"\xE2\x82\xAC uro\"", "\xE2\x82\xAC uro" },
    };
    hybrid_lexicon *x;
    hybrid_error err;
    size_t i, at, forced = 0, chosen = 0;
    CHECK(!hybrid_lexicon_create(tok, &x, &err), "%s", err.message);
    for (i = 0; i < HYB_COUNT(rows); i++) {
        const char *text = rows[i][1];
        hybrid_grammar *g;
        hybrid_matcher *m;
        CHECK(!gbnf(rows[i][0], &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
        for (at = 0; at <= strlen(text); at++) {
            int32_t id = -2;
            hybrid_string s;
            CHECK(!hyb_forced_token(m, x, tok, &id, &err) && (id >= 0) == no_choice(m, tok), "%s after %u bytes: %d",
                  rows[i][0], (unsigned)at, (int)id);
            *(id < 0 ? &chosen : &forced) += 1;
            s = hybrid_token_bytes(tok, HYB_MAX(id, 0));
            CHECK(id < 0 || (s.size && !strncmp(text + at, s.data, s.size)), "%s after %u bytes: %d", rows[i][0],
                  (unsigned)at, (int)id);
            if (text[at]) CHECK(!hybrid_matcher_accept(m, text + at, 1, &err), "%s", err.message);
        }
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
    }
    CHECK(forced > 20 && chosen > 20, "%u places are forced, %u are not", (unsigned)forced, (unsigned)chosen);
    hybrid_lexicon_destroy(x);
}

typedef struct forced_run {
    hybrid_model *model;
    hybrid_grammar *grammar;
    hybrid_session_desc desc;
    uint64_t budget;
    char text[512];
    int32_t ids[256];
    float logprobs[256];
    size_t n, size, pieces;
    hybrid_stop_reason stop;
    size_t save_at; /* after so many pieces it is saved, and goes on in another session; 0: never */
    char *saved;
    size_t saved_size;
} forced_run;

static bool forced_write(void *user, const void *data, size_t size)
{
    forced_run *f = (forced_run *)user;
    f->saved = (char *)realloc(f->saved, f->saved_size + size);
    memcpy(f->saved + f->saved_size, data, size);
    f->saved_size += size;
    return true;
}

static hybrid_session *forced_begin(const forced_run *f, hybrid_context *shared)
{
    hybrid_session_desc d = f->desc;
    hybrid_session *s;
    hybrid_error err;
    d.context_shared = shared;
    CHECK(!hybrid_session_create(f->model, &d, &s, &err) && !hybrid_session_set_grammar(s, f->grammar, &err), "%s",
          err.message);
    return s;
}

static void forced_keep(forced_run *f, const hybrid_piece *piece)
{
    memcpy(f->text + f->size, piece->text, piece->size);
    f->text[f->size += piece->size] = 0;
    f->pieces += piece->size > 0;
    if (piece->n_ids) memcpy(f->ids + f->n, piece->ids, piece->n_ids * sizeof *f->ids);
    if (piece->n_ids && piece->logprobs) memcpy(f->logprobs + f->n, piece->logprobs, piece->n_ids * sizeof(float));
    f->n += piece->n_ids;
    f->stop = piece->stop;
}

static void forced_go(forced_run *f)
{
    hybrid_session *s = forced_begin(f, NULL);
    hybrid_source source;
    hybrid_target to;
    hybrid_piece piece;
    hybrid_error err;
    memset(&to, 0, sizeof to);
    to.write = forced_write;
    to.user = f;
    f->n = f->size = f->pieces = 0;
    f->stop = HYBRID_STOP_NONE;
    hybrid_session_complete(s, "Once upon a time");
    while (f->stop == HYBRID_STOP_NONE) {
        const size_t before = f->pieces;
        CHECK(!hybrid_session_step(s, f->budget, &piece), "%s", "step");
        forced_keep(f, &piece);
        if (f->pieces == before || f->pieces != f->save_at || f->stop) continue;
        f->saved_size = 0;
        CHECK(!hybrid_session_save(s, NULL, &to, &err), "%s", err.message);
        hybrid_session_destroy(s);
        s = forced_begin(f, NULL);
        memset(&source, 0, sizeof source);
        source.data = f->saved;
        source.size = f->saved_size;
        CHECK(!hybrid_session_load(s, NULL, &source, &err), "%s", err.message);
    }
    hybrid_session_destroy(s);
}

/* What was said, token by token: those with the logarithm 0 are those without a choice. Returns how many. */
static uint32_t forced_check(const forced_run *f)
{
    hybrid_matcher *m;
    hybrid_lexicon *x;
    hybrid_error err;
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(f->model);
    uint32_t forced = 0, wrong_ones = 0;
    size_t i;
    CHECK(!hybrid_matcher_create(f->grammar, &m, &err) && !hybrid_lexicon_create(tok, &x, &err), "%s", err.message);
    for (i = 0; i < f->n; i++) {
        const bool none = i && !f->desc.sample_forced && no_choice(m, tok); /* the first is always chosen */
        wrong_ones += none != (f->logprobs[i] == 0);
        forced += none;
        CHECK(!hybrid_matcher_accept_token(m, x, f->ids[i], &err), "%s", err.message);
    }
    CHECK(!wrong_ones, "%s: %u tokens are forced, or are not", f->text, wrong_ones);
    if (!f->desc.max_tokens) CHECK(hybrid_matcher_can_end(m) && f->stop == HYBRID_STOP_END, "%s", f->text);
    hybrid_matcher_destroy(m);
    hybrid_lexicon_destroy(x);
    return forced;
}

/* Some in a crowd say what each says alone. */
static void forced_crowd(const forced_run *alone)
{
    hybrid_context_desc cd;
    hybrid_context *ctx;
    hybrid_crowd *crowd;
    hybrid_session *s[3], *who;
    hybrid_piece piece;
    hybrid_error err;
    forced_run each[3];
    int i, running = 3;
    memset(&cd, 0, sizeof cd);
    cd.n_seq = 3;
    cd.n_ctx = 768;
    CHECK(!hybrid_context_create(alone->model, &cd, &ctx, &err) && !hybrid_crowd_create(ctx, &crowd, &err), "%s",
          err.message);
    for (i = 0; i < 3; i++) {
        each[i] = *alone;
        each[i].n = each[i].size = 0;
        s[i] = forced_begin(alone, ctx);
        CHECK(!hybrid_crowd_add(crowd, s[i], 1, &err), "%s", err.message);
        hybrid_session_complete(s[i], "Once upon a time");
    }
    while (running) {
        CHECK(!hybrid_crowd_step(crowd, UINT64_MAX, &err), "%s", err.message);
        while ((who = hybrid_crowd_next(crowd, &piece)) != NULL) {
            for (i = 0; s[i] != who; i++) {}
            forced_keep(&each[i], &piece);
            running -= piece.stop != HYBRID_STOP_NONE;
        }
    }
    for (i = 0; i < 3; i++) {
        CHECK(each[i].n == alone->n && !memcmp(each[i].ids, alone->ids, alone->n * sizeof *alone->ids), "%s, not %s",
              each[i].text, alone->text);
        hybrid_session_destroy(s[i]);
    }
    hybrid_crowd_destroy(crowd);
    hybrid_context_destroy(ctx);
}

/* The same answer cut, saved and sliced: wherever that is, it goes on as it did. */
static void forced_cuts(const forced_run *whole)
{
    static const char *const stops[] = { "e\": \" s" }; /* begins in one token, and ends in another */
    forced_run f = *whole;
    size_t i;
    f.budget = 0;
    forced_go(&f);
    CHECK(f.n == whole->n && !memcmp(f.ids, whole->ids, f.n * sizeof *f.ids), "in slices: %s", f.text);
    f.budget = UINT64_MAX;
    f.desc.speculation = HYBRID_SPECULATION_ALWAYS;
    forced_go(&f);
    CHECK(f.n == whole->n && !memcmp(f.ids, whole->ids, f.n * sizeof *f.ids), "with guesses: %s", f.text);
    f.desc.speculation = whole->desc.speculation;
    for (i = 1; i < whole->n; i++) {
        f.desc.max_tokens = (int32_t)i;
        forced_go(&f);
        CHECK(f.n == i && !memcmp(f.ids, whole->ids, i * sizeof *f.ids) && f.stop == HYBRID_STOP_LIMIT &&
                  !strncmp(f.text, whole->text, f.size),
              "%u tokens: %s", (unsigned)i, f.text);
    }
    f.desc.max_tokens = 0;
    for (f.save_at = 1; f.save_at < whole->pieces; f.save_at++) {
        forced_go(&f);
        CHECK(f.n == whole->n && !memcmp(f.ids, whole->ids, f.n * sizeof *f.ids) && !strcmp(f.text, whole->text),
              "saved after %u pieces: %s", (unsigned)f.save_at, f.text);
    }
    f.save_at = 0;
    f.desc.stops = stops;
    f.desc.n_stops = 1;
    forced_go(&f);
    CHECK(f.stop == HYBRID_STOP_TEXT && strstr(whole->text, stops[0]) == whole->text + f.size &&
              !strncmp(f.text, whole->text, f.size),
          "a stop text: %s", f.text);
    free(f.saved);
}

static void forced_spans(void)
{
    static const char grammar[] =
        "root ::= \"{\\\"name\\\": \\\"\" [a-z]{1,9} \"\\\", \\\"shade\\\": \\\" s\" (\"aid\" | \"un\") "
        "\"\\\", \\\"is whole\\\": true}\""; /* " s" is where there is a token " said" */
    hybrid_model_desc md;
    hybrid_error err;
    forced_run f, sampled;
    uint32_t i, forced = 0, n = 0;
    TEST("forced spans");
    memset(&md, 0, sizeof md);
    memset(&f, 0, sizeof f);
    md.source.path = "examples/data/stories260K-q8_0.gguf";
    CHECK(!hybrid_model_load(rt, &md, &f.model, &err) && !gbnf(grammar, &f.grammar, &err), "%s", err.message);
    forced_tokens(hybrid_model_tokenizer(f.model));
    f.desc.logprobs = true;
    f.desc.context.n_ctx = 256;
    f.budget = UINT64_MAX;
    for (i = 0; i < 6; i++) {
        f.desc.sampler.temperature = i ? 2.0f : 0;
        f.desc.sampler.seed = i;
        forced_go(&f);
        forced += forced_check(&f);
        n += (uint32_t)f.n;
        sampled = f;
        sampled.desc.sample_forced = true;
        forced_go(&sampled);
        CHECK(!forced_check(&sampled), "the model chooses all of %s", sampled.text);
        if (i < 2) forced_cuts(&f);
        if (i < 2) forced_crowd(&f);
    }
    CHECK(2 * forced > n, "%u of %u tokens are forced", forced, n);
    printf("%u of %u tokens are forced\n", forced, n);
    hybrid_grammar_destroy(f.grammar);
    hybrid_model_destroy(f.model);
}

/* ---- answers ---- */

/* A session's answers at temperature 2 are texts of the grammar, all of them; and one that is cut is the beginning of
 * one. */
static void answers(void)
{
    hybrid_model_desc md;
    hybrid_session_desc sd;
    hybrid_session_info info;
    hybrid_model *model;
    hybrid_session *s;
    hybrid_grammar *g, *choice;
    hybrid_matcher *m;
    hybrid_error err;
    const char *piece;
    int i, whole = 0, cut = 0;
    TEST("answers with a form");
    memset(&md, 0, sizeof md);
    memset(&sd, 0, sizeof sd);
    md.source.path = "examples/data/stories260K-q8_0.gguf";
    CHECK(!hybrid_model_load(rt, &md, &model, &err), "%s", err.message);
    sd.sampler.temperature = 2;
    sd.max_tokens = 60;
    CHECK(!hybrid_session_create(model, &sd, &s, &err), "%s", err.message);
    CHECK(!gbnf(JSON, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
    CHECK(!gbnf("root ::= \"yes\" | \"no, never\"", &choice, &err), "%s", err.message);
    CHECK(!hybrid_session_set_grammar(s, g, &err), "%s", err.message);
    for (i = 0; i < 40; i++) {
        hybrid_result r = HYBRID_OK;
        hybrid_matcher_reset(m);
        hybrid_session_complete(s, "\n");
        if (!i) /* the answer that runs keeps its form, and the next has it again */
            CHECK(!hybrid_session_set_grammar(s, NULL, &err) && !hybrid_session_set_grammar(s, g, &err), "%s",
                  err.message);
        while ((piece = hybrid_session_next(s)) != NULL)
            if (!r) r = hybrid_matcher_accept(m, piece, strlen(piece), &err);
        CHECK(!hybrid_session_result(s, &err), "%s", err.message);
        hybrid_session_describe(s, &info);
        /* a cut may fall into a character, of which U+FFFD is shown */
        CHECK(!r || info.stop != HYBRID_STOP_END, "%s", err.message);
        CHECK(info.stop != HYBRID_STOP_END || hybrid_matcher_can_end(m), "an answer that ended is whole");
        whole += info.stop == HYBRID_STOP_END;
        cut += info.stop == HYBRID_STOP_LIMIT;
        if (i % 4 == 3) hybrid_session_reset(s);
    }
    CHECK(whole > 0 && whole + cut == 40, "%d whole, %d cut", whole, cut);
    printf("%d answers whole, %d cut\n", whole, cut);
    hybrid_session_reset(s);
    CHECK(!hybrid_session_set_grammar(s, choice, &err), "%s", err.message);
    for (i = 0; i < 10; i++) {
        char answer[64] = "";
        hybrid_session_complete(s, " ");
        while ((piece = hybrid_session_next(s)) != NULL)
            if (strlen(answer) + strlen(piece) < sizeof answer) strcat(answer, piece);
        CHECK(!strcmp(answer, "yes") || !strcmp(answer, "no, never"), "%s", answer);
    }
    CHECK(!hybrid_session_set_grammar(s, NULL, &err), "%s", err.message);
    hybrid_session_destroy(s);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
    hybrid_grammar_destroy(choice);
    hybrid_model_destroy(model);
}

/* The mask of a sampler: greedy and drawn, with a forcing bias, and nothing left. */
static void sampler_mask(void)
{
    static const float logits[64] = { [3] = 5, [40] = 4, [41] = 9, [63] = 1 };
    const uint32_t mask[2] = { 1u << 3, 1u << 8 }, none[2] = { 0, 0 };
    const hybrid_logit_bias bias = { 41, INFINITY };
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    hybrid_error err;
    int i, seen[2] = { 0, 0 };
    TEST("a sampler with a mask");
    memset(&d, 0, sizeof d);
    for (i = 0; i < 3; i++) {
        int k;
        d.temperature = i ? 3 : 0;
        d.bias = &bias;
        d.n_bias = i == 2;
        CHECK(!hybrid_sampler_create(rt, &d, &s, &err), "%s", err.message);
        CHECK(i == 1 || hybrid_sample(s, logits, 64) == 41, "without");
        hybrid_sampler_set_mask(s, mask, 2);
        for (k = 0; k < 50; k++) {
            const int32_t id = hybrid_sample(s, logits, 64);
            CHECK(id == 3 || (i && id == 40), "%d", (int)id);
            seen[id == 40]++;
        }
        hybrid_sampler_set_mask(s, mask, 1);
        CHECK(hybrid_sample(s, logits, 64) == 3, "tokens beyond the mask are out");
        hybrid_sampler_set_mask(s, none, 2);
        CHECK(hybrid_sample(s, logits, 64) == HYBRID_ERROR_NUMERIC && hybrid_sampler_result(s, &err) &&
                  strstr(err.message, "mask"),
              "%s", err.message);
        hybrid_sampler_set_mask(s, NULL, 0);
        CHECK(i == 1 || hybrid_sample(s, logits, 64) == 41, "all again");
        hybrid_sampler_destroy(s);
    }
    CHECK(seen[0] && seen[1], "both are drawn");
}

int main(void)
{
    if (hybrid_runtime_create(NULL, &rt, NULL)) return 1;
    notation();
    ranges();
    refused();
    calls();
    oracle();
    llama();
    deep();
    memory();
    masks();
    forced_spans();
    sampler_mask();
    triggers();
    answers();
    hybrid_runtime_destroy(rt);
    return test_end();
}
