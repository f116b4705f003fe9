/* WordPiece: the ids of Hugging Face (llama.cpp's vectors for BERT's vocabulary), hostile texts, and what a tiny
 * vocabulary makes of every way in which a word can fail. */
#include "interface.h"

static hybrid_tokenizer *tokenizer_of(const char *path)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_tokenizer *t = NULL;
    hybrid_error e;
    memset(&source, 0, sizeof source);
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e) && !hybrid_tokenizer_from_gguf(NULL, g, &t, &e), "%s", e.message);
    hybrid_gguf_destroy(g);
    return t;
}

/* The ids of a text as "1 2 3". */
static const char *ids_of(const hybrid_tokenizer *t, const char *text, size_t size, unsigned flags)
{
    static char line[1 << 16];
    static int32_t ids[1 << 14];
    hybrid_error e;
    size_t n = 0, i, at = 0;
    CHECK(!hybrid_tokenize(t, text, size, flags, ids, COUNT(ids), &n, &e), "%s", e.message);
    line[0] = 0;
    for (i = 0; i < n && at + 16 < sizeof line; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%d", i ? " " : "", (int)ids[i]);
    return line;
}

/* ../shared/data/vocab: texts between lines "__ggml_vocab_test__", a line of ids for each. */
static void check_vectors(const hybrid_tokenizer *t)
{
    static const char between[] = "\n__ggml_vocab_test__\n";
    char *texts = read_file(data_path("vocab/ggml-vocab-bert-bge.gguf.inp"), NULL);
    char *ids = read_file(data_path("vocab/ggml-vocab-bert-bge.gguf.out"), NULL);
    char *text = texts, *line = ids, *end, *stop;
    int n = 0;
    TEST("llama.cpp's vectors, by Hugging Face");
    for (; text && line && *line; text = end ? end + strlen(between) : NULL, line = stop ? stop + 1 : NULL) {
        end = strstr(text, between);
        if ((stop = strchr(line, '\n')) != NULL) *stop = 0;
        while (*line == ' ') line++;
        while (*line && line[strlen(line) - 1] == ' ') line[strlen(line) - 1] = 0;
        if (!end) break; /* what stands after the last one */
        CHECK(!strcmp(ids_of(t, text, (size_t)(end - text), 0), line), "text %d is %s, not %s", n,
              ids_of(t, text, (size_t)(end - text), 0), line);
        n++;
    }
    CHECK(n >= 40, "only %d texts", n);
    free(texts);
    free(ids);
}

/* By HF tokenizers 0.23.3 with all-MiniLM-L6-v2's tokenizer.json, which has the same vocabulary. */
static void check_more(const hybrid_tokenizer *t)
{
    static const struct {
        const char *text, *ids;
    } cases[] = {
        { "", "101 102" },
        { " ", "101 102" },
        { "D\303\251j\303\240 vu, na\303\257ve \303\205ngstr\303\266m \303\205\303\211\303\216\303\230\303\234",
          "101 2139 3900 24728 1010 15743 17076 15687 29347 2072 16415 2226 102" },
        { "\304\260stanbul \304\261I \307\205 \303\237 \341\272\236", "101 9960 1104 2072 100 1096 1096 102" },
        { "\355\225\234\352\265\255\354\226\264 \355\205\215\354\212\244\355\212\270",
          "101 1469 30006 30021 29991 30014 30020 29999 30008 1467 30009 30020 29997 30017 30003 30017 102" },
        { "\346\227\245\346\234\254\350\252\236\343\201\256\343\203\206\343\202\255\343\202\271\343\203\210\343\200"
          "\202",
          "101 1864 1876 1950 1671 30239 30227 30233 30240 1636 102" },
        { "\344\270\255\346\226\207\345\255\227\347\254\246\346\265\213\350\257\225\343\220\200\360\240\200\200\350\261"
          "\210",
          "101 1746 1861 100 100 100 100 100 100 100 102" },
        { "a\342\200\213b\302\255c\357\273\277d\001e\007f", "101 5925 3207 2546 102" },
        { "e\314\201\314\243 o\314\210", "101 1041 1051 102" },
        { "\340\270\201\340\270\263\340\270\227", "101 100 102" },
        { "\340\244\271\340\244\277\340\244\250\340\245\215\340\244\246\340\245\200 "
          "\340\244\256\340\245\207\340\244\202 \340\244\252\340\244\276\340\244\240",
          "101 1339 29877 29863 29861 29878 1331 100 102" },
        { "tab\011here\012and\015\012lines\342\200\250sep\302\240nbsp\343\200\200wide",
          "101 21628 2182 1998 3210 19802 1050 5910 2361 2898 102" },
        { "don't can't I'm (well)...!\?",
          "101 2123 1005 1056 2064 1005 1056 1045 1005 1049 1006 2092 1007 1012 1012 1012 999 1029 102" },
        { "user@example.com http://x.y/z\?a=1&b=2#c",
          "101 5310 1030 2742 1012 4012 8299 1024 1013 1013 1060 1012 1061 1013 1062 1029 1037 1027 1015 1004 1038 "
          "1027 1016 1001 1039 102" },
        { "\360\237\230\200\360\237\221\215\360\237\217\275 "
          "emoji\342\200\215\360\237\221\251\342\200\215\360\237\222\273",
          "101 100 100 102" },
        { "supercalifragilisticexpialidocious antidisestablishmentarianism",
          "101 3565 9289 10128 29181 24411 4588 10288 19312 21273 10085 6313 3424 10521 4355 7875 13602 3672 12199 "
          "2964 102" },
        { "qqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyyqqzzxxyy",
          "101 1053 4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 "
          "4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 4160 13213 "
          "20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 2100 4160 4160 13213 20348 2100 "
          "2100 102" },
        { "$100 + 5% = ~`^|<>", "101 1002 2531 1009 1019 1003 1027 1066 1036 1034 1064 1026 1028 102" },
        { "\302\253quoted\302\273 \342\200\234curly\342\200\235 \342\200\230single\342\200\231 "
          "\342\200\224dash\342\200\223 \342\200\246 \302\277que\?",
          "101 1077 9339 1090 1523 17546 1524 1520 2309 1521 1517 11454 1516 1529 1094 10861 1029 102" },
        { "\357\254\201 \357\254\202 \302\275 \342\205\243 \342\221\240 \342\204\203 \303\205",
          "101 1984 1985 1092 100 100 100 1037 102" },
        { "\316\221\316\222\316\223 \316\261\316\262\316\263\317\202 \316\243\316\221\316\243",
          "101 1155 29720 29721 1155 29720 29721 19579 1173 14608 29733 102" },
        { "\320\237\321\200\320\270\320\262\320\265\321\202, \320\274\320\270\321\200! "
          "\320\201\320\273\320\272\320\260 \320\271",
          "101 1194 16856 10325 25529 15290 22919 1010 1191 10325 16856 999 1185 29436 28598 1188 102" },
        { "\327\251\326\270\327\201\327\234\327\225\326\271\327\235 \327\242\327\225\327\234\327\235",
          "101 1266 29799 29792 29800 1259 29792 29799 29800 102" },
        { "\331\205\330\261\330\255\330\250\330\247 \330\250\330\247\331\204\330\271\330\247\331\204\331\205 \331\213",
          "101 1295 17149 29820 29816 25573 1271 25573 23673 29830 25573 23673 22192 102" },
        { "x\314\200\314\201\314\202\314\203x\314\200\314\201\314\202\314\203x\314\200\314\201\314\202\314\203x\314\200"
          "\314\201\314\202\314\203",
          "101 22038 20348 102" },
        { "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA "
          "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
          "101 13360 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 "
          "11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 "
          "11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 11057 2050 100 102" },
        { "##ing ##s #", "101 1001 1001 13749 1001 1001 1055 1001 102" },
        { "\357\274\241\357\275\206\357\275\225\357\275\214\357\275\214\343\200\200\357\275\227\357\275\211\357\275\204"
          "\357\275\224\357\275\210",
          "101 100 100 102" },
        { "\341\272\233\314\243 \342\204\253 \355\225\234", "101 100 1037 1469 30006 30021 102" },
    };
    int i;
    TEST("hostile texts, by HF tokenizers");
    for (i = 0; i < COUNT(cases); i++) {
        const char *ids = ids_of(t, cases[i].text, strlen(cases[i].text), HYBRID_TOKENIZE_ADD_SPECIAL);
        CHECK(!strcmp(ids, cases[i].ids), "text %d ('%s') is %s, not %s", i, cases[i].text, ids, cases[i].ids);
    }
}

static void check_parts(const hybrid_tokenizer *t)
{
    static char long_word[101 + 1];
    char text[256];
    int32_t ids[8];
    size_t n = 0, size = 0;
    hybrid_error e;
    TEST("parts");
    CHECK(!strcmp(ids_of(t, "[CLS] a", 7, 0), "1031 18856 2015 1033 1037"), "a stranger's [CLS] is %s",
          ids_of(t, "[CLS] a", 7, 0));
    CHECK(!strcmp(ids_of(t, "[CLS] a", 7, HYBRID_TOKENIZE_PARSE_SPECIAL), "101 1037"), "[CLS] is %s",
          ids_of(t, "[CLS] a", 7, HYBRID_TOKENIZE_PARSE_SPECIAL));
    snprintf(text, sizeof text, "%s",
             ids_of(t,
                    "a\xff\xc3"
                    "b\x80",
                    5, 0));
    CHECK(!strcmp(text, ids_of(t, "ab", 2, 0)), "bytes that are not UTF-8 are left out: %s", text);
    memset(long_word, 'x', 100);
    CHECK(strcmp(ids_of(t, long_word, 100, 0), "100"), "a word of 100 characters is unknown");
    memset(long_word, 'x', 101);
    CHECK(!strcmp(ids_of(t, long_word, 101, 0), "100"), "a word of 101 characters is %s", ids_of(t, long_word, 101, 0));
    CHECK(!hybrid_tokenize(t, "Unaffable!", 10, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 8, &n, &e) &&
              !hybrid_detokenize(t, ids, n, 0, text, sizeof text, &size, &e),
          "%s", e.message);
    CHECK(size == 11 && !memcmp(text, "unaffable !", 11), "'%.*s'", (int)size, text);
    CHECK(hybrid_tokenizer_adds_bos(t) && hybrid_tokenizer_adds_eos(t), "[CLS] and [SEP]");
    CHECK(hybrid_token_role_id(t, HYBRID_ROLE_MASK) == 103, "[MASK]");
}

int main(void)
{
    const char *path = data_path("vocab/ggml-vocab-bert-bge.gguf");
    hybrid_tokenizer *t;
    if (path) {
        t = tokenizer_of(path);
        check_vectors(t);
        check_more(t);
        check_parts(t);
        hybrid_tokenizer_destroy(t);
    } else
        SKIP("there is no vocab/ggml-vocab-bert-bge.gguf in the test data (HYBRID_DATA)");
    t = tokenizer_of("tests/oracle/data/models/bert.gguf");
    TEST("a tiny vocabulary");
    CHECK(!strcmp(ids_of(t, "The \xc3\xa9", 6, HYBRID_TOKENIZE_ADD_SPECIAL), ids_of(t, "the e", 5, 1)), "%s",
          ids_of(t, "The \xc3\xa9", 6, HYBRID_TOKENIZE_ADD_SPECIAL));
    hybrid_tokenizer_destroy(t);
    return test_end();
}
