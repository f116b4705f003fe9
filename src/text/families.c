/* text/families: what the expressions of single families have that others have not, and the table of their names. */

/* The pieces of an expression that leaves out some of a text: what it matches, and what lies between. match(...)
 * returns p for no match. */
typedef const uint8_t *(*hybrid__match_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end);

HYBRID__INLINE const uint8_t *hybrid__split_matches(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                    hybrid__match_fn match)
{
    const uint8_t *q = match(classes, p, end);
    size_t length;
    if (q != p) return q;
    do {
        hybrid__class_at(classes, q, end, &length);
        q += length;
    } while (q < end && match(classes, q, end) == q);
    return q;
}

/* ---- Seed-Coder, Ufakzeka, Spark: known expressions with a part less ---- */

static const uint8_t *hybrid__split_seed_coder(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 1, HYBRID__NO_LINE_ENDS);
}
static const uint8_t *hybrid__split_ufakzeka(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 1, HYBRID__NO_CONTRACTIONS);
}
static const uint8_t *hybrid__split_spark(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_deepseek(classes, p, end, false);
}

/* ---- Poro, Viking, BLOOM:  ?[^(\s|.,!?...)]+ and what lies between ---- */

static bool hybrid__is_bloom_word(unsigned k, uint32_t c)
{
    if (hybrid__in_set(HYBRID__SPACES, k)) return false;
    if (c < 0x80) return !(c == '(' || c == '|' || c == '.' || c == ',' || c == '!' || c == '?' || c == ')');
    return c != 0x2026 && c != 0x3002 && c != 0xFF0C && c != 0x3001 && c != 0x964 && c != 0x6D4 && c != 0x60C;
}

static const uint8_t *hybrid__match_bloom(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *begin = *p == ' ' ? p + 1 : p;
    const uint8_t *q = begin < end ? hybrid__match_members(classes, begin, end, hybrid__is_bloom_word, false) : begin;
    return q != begin ? q : p;
}
static const uint8_t *hybrid__split_bloom(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_matches(classes, p, end, hybrid__match_bloom);
}

/* ---- SuperBPE: (?=(\d{3})+(?!\d)), numbers in groups of three from their ends ----
 *
 * A matcher that counts the digits ahead of every group would take quadratic time, so there are two: what is in front
 * of the full groups of a number, and these. */

static bool hybrid__is_decimal(uint32_t c)
{
    return c != UINT32_MAX && hybrid__in_edges(hybrid__digit_edges, HYBRID__COUNT(hybrid__digit_edges), c);
}

/* Beyond \d from p on; *n: how many. */
HYBRID__INLINE const uint8_t *hybrid__digits_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n)
{
    size_t length;
    uint32_t c;
    for (*n = 0; p < end; p += length, ++*n)
        if (hybrid__char_at(classes, p, end, &length, &c) != HYBRID__CHAR_NUMBER || !hybrid__is_decimal(c)) break;
    return p;
}

/* SuperBPE's expression is of no width: the last three digits stay with what follows them. Pieces are of \p{N}. */
static const uint8_t *hybrid__split_superbpe(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *begin = p, *q;
    size_t n, k, length;
    for (; p < end; p = q) {
        q = hybrid__digits_of(classes, p, end, &n);
        if (!n) {
            hybrid__class_at(classes, q, end, &length);
            q += length;
        }
        else if (n < 3) {}
        else if (n % 3 || n > 3 || p != begin) {
            k = n % 3 ? n % 3 : p != begin ? 0 : n - 3;
            for (; k; k--, p += length) hybrid__class_at(classes, p, end, &length);
            return p;
        }
    }
    return end;
}

/* Four digits begin only what is full groups and nothing else. */
static const uint8_t *hybrid__split_digit_thirds(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *third = end;
    size_t n, length;
    uint32_t c;
    for (n = 0; n < 4; n++, p += length) {
        if (n == 3) third = p;
        if (p == end || hybrid__char_at(classes, p, end, &length, &c) != HYBRID__CHAR_NUMBER) return end;
        if (!hybrid__is_decimal(c)) return end;
    }
    return third;
}

/* The class of the last character before end. */
HYBRID__INLINE unsigned hybrid__last_class(const uint8_t *classes, const uint8_t *p, const uint8_t *end, uint32_t *c)
{
    const uint8_t *q = end - 1;
    size_t length;
    unsigned k;
    while (q > p && end - q < 4 && (*q & 0xC0) == 0x80) q--;
    k = hybrid__char_at(classes, q, end, &length, c);
    return q + length == end ? k : (unsigned)HYBRID__CHAR_OTHER;
}

/* ---- AFMoE, Tiny Aya, North: numbers in groups of three from their ends, what is left in front ----
 *
 * Two matchers again, for linear time: the first cuts off what is left, the second what is full groups. */

/* Beyond the number that begins at p, p when none does; *n: how long, 0 for one that is not cut. */
typedef const uint8_t *(*hybrid__number_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n);

HYBRID__INLINE const uint8_t *hybrid__split_first_group(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                        hybrid__number_fn number)
{
    const uint8_t *begin = p, *q = p;
    size_t n = 0, length;
    for (; p < end; p = q) {
        q = number(classes, p, end, &n);
        if (n) break;
        if (q == p) {
            hybrid__class_at(classes, q, end, &length);
            q += length;
        }
    }
    if (p != begin) return p;
    if (n % 3 == 0) return q;
    for (n %= 3; n; n--, p += length) hybrid__class_at(classes, p, end, &length);
    return p;
}

/* \p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})) */
static const uint8_t *hybrid__number_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n)
{
    size_t length;
    for (*n = 0; p < end; p += length, ++*n)
        if (hybrid__class_at(classes, p, end, &length) != HYBRID__CHAR_NUMBER) break;
    return p;
}
static const uint8_t *hybrid__split_number_first(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_first_group(classes, p, end, hybrid__number_of);
}
static const uint8_t *hybrid__split_number_thirds(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t n, length;
    for (n = 0; n < 3 && p < end; n++, p += length)
        if (hybrid__class_at(classes, p, end, &length) != HYBRID__CHAR_NUMBER) return end;
    return p;
}

/* \d{1,3}(?=(?:\d{3})*\b): no number that a letter follows. */
static const uint8_t *hybrid__number_of_its_own(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n)
{
    const uint8_t *q = hybrid__digits_of(classes, p, end, n);
    size_t length;
    uint32_t c;
    unsigned k;
    if (q == p || q == end) return q;
    k = hybrid__char_at(classes, q, end, &length, &c);
    if (hybrid__in_set(HYBRID__LETTERS | HYBRID__CHARS(MARK), k)) *n = 0;
    if (c != UINT32_MAX && hybrid__in_edges(hybrid__word_edges, HYBRID__COUNT(hybrid__word_edges), c)) *n = 0;
    return q;
}
static const uint8_t *hybrid__split_digits_first(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_first_group(classes, p, end, hybrid__number_of_its_own);
}

/* Of the pieces that the first matcher leaves, groups begin and end with a digit; one with another number may begin
 * so, but goes on after it. */
static const uint8_t *hybrid__split_groups(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    uint32_t c;
    if (hybrid__last_class(classes, p, end, &c) != HYBRID__CHAR_NUMBER || !hybrid__is_decimal(c)) return end;
    return hybrid__split_digit_thirds(classes, p, end);
}

/* AFMoE: letters of East Asia's scripts. */
static bool hybrid__is_afmoe_letter(unsigned k, uint32_t c)
{
    static const uint32_t edges[] = {
        0xE40, 0xF00, 0x1000, 0x10A0, 0x1100, 0x1200, 0x1780, 0x1800, 0x2F00, 0x2FE0, 0x3040, 0x3100, 0x3400, 0x4DC0,
        0x4E00, 0xD7B0, 0xF900, 0xFB00, 0xFF65, 0xFFA0
    };
    HYBRID__UNUSED(k);
    return c != UINT32_MAX && hybrid__in_edges(edges, HYBRID__COUNT(edges), c);
}
static const uint8_t *hybrid__split_afmoe_letters(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_members(classes, p, end, hybrid__is_afmoe_letter, false);
}

/* ---- Youtu: [\uAC00-\uD7A3\u3131-\u318E]+|[\uFF01...\u3001-\u303F\uFE30-\uFE4F]+|[\u3105-\u312F]+|
 * [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+ ---- */

/* Which of the four sets c is in, 0 for none. */
static int hybrid__youtu_set(uint32_t c)
{
    if (c < 0x2014) return 0;
    if (c < 0x3001) return c == 0x2014 || c == 0x2018 || c == 0x2019 || c == 0x201C || c == 0x201D || c == 0x2026 ? 2 : 0;
    if (c < 0x3040) return 2;
    if (c < 0x3105) return c < 0x3100 ? 4 : 0;
    if (c < 0x3131) return c < 0x3130 ? 3 : 0;
    if (c < 0x4E00) return c < 0x318F ? 1 : 0;
    if (c < 0xAC00) return c < 0x9FA6 ? 4 : 0;
    if (c < 0xFE30) return c < 0xD7A4 ? 1 : 0;
    return c < 0xFE50 || c == 0xFF01 || c == 0xFF0C || c == 0xFF1A || c == 0xFF1B ? 2 : 0;
}
static const uint8_t *hybrid__match_youtu(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t length;
    uint32_t c;
    int set;
    hybrid__char_at(classes, p, end, &length, &c);
    if (!(set = hybrid__youtu_set(c))) return p;
    for (p += length; p < end; p += length) {
        hybrid__char_at(classes, p, end, &length, &c);
        if (hybrid__youtu_set(c) != set) break;
    }
    return p;
}
static const uint8_t *hybrid__split_youtu(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_matches(classes, p, end, hybrid__match_youtu);
}

/* \p{N} and all else as GPT-4o has it. */
static const uint8_t *hybrid__split_gpt4o_digits(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_cased(classes, p, end, true, 1);
}

/* ---- Kimi K2: [\p{Han}]+ and GPT-4o's words, whose letters are [...&&[^\p{Han}]]; no slash after what is neither ---- */

static const uint8_t *hybrid__split_kimi(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    uint32_t c;
    for (q = p; q < end; q += length) {
        hybrid__char_at(classes, q, end, &length, &c);
        if (c < hybrid__han_edges[0] || c == UINT32_MAX) break;
        if (!hybrid__in_edges(hybrid__han_edges, HYBRID__COUNT(hybrid__han_edges), c)) break;
    }
    if (q != p || (q = hybrid__cased_word(classes, p, end, true, true)) != p) return q;
    return hybrid__split_no_word(classes, p, end, 3, false);
}

/* ---- EXAONE-MoE ---- */

/* \p{L}\p{M}*(?: \p{L}\p{M}*)*, again and again: letters, the marks after them, single spaces between two such; p
 * when none begins there. */
static const uint8_t *hybrid__spaced_letters(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    while ((q = hybrid__char_of(classes, p, end, HYBRID__LETTERS)) != p) {
        p = hybrid__chars_of(classes, q, end, HYBRID__CHARS(MARK));
        if (end - p > 1 && *p == ' ' && hybrid__char_of(classes, p + 1, end, HYBRID__LETTERS) != p + 1) p++;
    }
    return p;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|
 * \s*[\r\n]|\s+(?!\S)|\s+ */
static const uint8_t *hybrid__split_exaone_moe(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    unsigned k;
    if (*p == '\'' && (q = hybrid__match_contraction(p, end, true)) != p) return q;
    k = hybrid__class_at(classes, p, end, &length);
    if (k == HYBRID__CHAR_NUMBER) return p + length;
    if (hybrid__in_set(HYBRID__LETTERS, k)) return hybrid__spaced_letters(classes, p, end);
    if (k != HYBRID__CHAR_NEWLINE && (q = hybrid__spaced_letters(classes, p + length, end)) != p + length) return q;
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    k = hybrid__class_at(classes, q, end, &length);
    if (!hybrid__in_set(HYBRID__REST, k)) return hybrid__match_lines(classes, p, end);
    q = hybrid__chars_of(classes, q, end, HYBRID__REST);
    return q < end && (*q == '\r' || *q == '\n' || *q == '/') ? q + 1 : q;
}

/* ---- Jais 2 ---- */

/* ...|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} is
 * \s+(?!\S)|\s+ of Llama 3, cut into powers of two. */
static const uint8_t *hybrid__split_jais_spaces(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t n = 0, most = 512, length;
    const uint8_t *q;
    uint32_t c;
    if (!hybrid__in_set(HYBRID__SPACES, hybrid__class_at(classes, p, end, &length))) return end;
    if (hybrid__last_class(classes, p, end, &c) != HYBRID__CHAR_SPACE) return end;
    for (q = p; q < end && n < 512; n++, q += length) hybrid__class_at(classes, q, end, &length);
    while (most > n) most /= 2;
    for (; most; most--, p += length) hybrid__class_at(classes, p, end, &length);
    return p;
}

/* ---- Laguna: [^\n]+|[\n]+ ---- */

static const uint8_t *hybrid__split_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const bool line = *p == '\n';
    HYBRID__UNUSED(classes);
    while (p < end && (*p == '\n') == line) p++;
    return p;
}

/* ---- Chameleon ---- */

/* <sentinel:[0-9]+> */
static const uint8_t *hybrid__match_sentinel(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + 10;
    HYBRID__UNUSED(classes);
    if (end - p < 12 || memcmp(p, "<sentinel:", 10)) return p;
    while (q < end && *q >= '0' && *q <= '9') q++;
    return q > p + 10 && q < end && *q == '>' ? q + 1 : p;
}

/* (IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z */
static const uint8_t *hybrid__match_image(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + 6;
    HYBRID__UNUSED(classes);
    if (end - p < 8 || memcmp(p, "IMGIMG", 6)) return p;
    while (q < end && q < p + 10 && *q >= 'A' && *q <= 'I') q++;
    return q > p + 6 && q < end && *q == 'Z' ? q + 1 : p;
}

/* ([\t\n]|    |  ) */
static const uint8_t *hybrid__match_indent(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYBRID__UNUSED(classes);
    if (*p == '\t' || *p == '\n') return p + 1;
    if (end - p >= 4 && !memcmp(p, "    ", 4)) return p + 4;
    return end - p >= 2 && !memcmp(p, "  ", 2) ? p + 2 : p;
}

/* [\p{P}!-/:-@\[-`{-~] */
static const uint8_t *hybrid__match_one_mark(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t length;
    const unsigned k = hybrid__class_at(classes, p, end, &length);
    return k == HYBRID__CHAR_PUNCTUATION || (*p < 0x80 && k == HYBRID__CHAR_SYMBOL) ? p + length : p;
}

#define HYBRID__SPLIT_MATCHES(name)                                                                          \
    static const uint8_t *hybrid__split_##name(const uint8_t *classes, const uint8_t *p, const uint8_t *end) \
    {                                                                                                        \
        return hybrid__split_matches(classes, p, end, hybrid__match_##name);                                 \
    }
HYBRID__SPLIT_MATCHES(sentinel)
HYBRID__SPLIT_MATCHES(image)
HYBRID__SPLIT_MATCHES(indent)
HYBRID__SPLIT_MATCHES(one_mark)
#undef HYBRID__SPLIT_MATCHES

/* ---- the table ---- */

#define HYBRID__ONE(a)         { hybrid__split_##a, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__TWO(a, b)      { hybrid__split_##a, hybrid__split_##b, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__THREE(a, b, c) { hybrid__split_##a, hybrid__split_##b, hybrid__split_##c, NULL, NULL, NULL, NULL }
#define HYBRID__DEEPSEEK3      HYBRID__THREE(number3, deepseek3_cjk, deepseek3)

/* The name of tokenizer.ggml.pre (or of a tiktoken encoding); nothing at all is gpt-2. NULL: hybrid does not have it.
 * The columns of flags: words that are tokens are taken whole; BOS is added where the file does not say; the text is
 * brought to normalization form C first, which holds for Qwen 2 and later, GPT-NeoX's kin (olmo, mpt, modern-bert),
 * Cohere's models and StableLM 2, as their Hugging Face tokenizers say. */
static const hybrid__pretokenizer *hybrid__find_pretokenizer(const char *name, size_t size)
{
    static const hybrid__pretokenizer table[] = {
        { "gpt-2",                    HYBRID__ONE(gpt2), false, false, false },
        { "r50k",                     HYBRID__ONE(gpt2), false, false, false },
        { "p50k",                     HYBRID__ONE(gpt2), false, false, false },
        { "phi-2",                    HYBRID__ONE(gpt2), false, false, false },
        { "jais",                     HYBRID__ONE(gpt2), false, false, false },
        { "trillion",                 HYBRID__ONE(gpt2), false, false, false },
        { "exaone4",                  HYBRID__ONE(gpt2), false, false, false },
        { "granite-docling",          HYBRID__ONE(gpt2), false, false, false },
        { "gigachat",                 HYBRID__ONE(gpt2), false, false, false },
        { "a.x-4.0",                  HYBRID__ONE(gpt2), false, false, false },
        { "jina-es",                  HYBRID__ONE(gpt2), false, false, false },
        { "jina-de",                  HYBRID__ONE(gpt2), false, false, false },
        { "jina-v1-en",               HYBRID__ONE(gpt2), false, false, false },
        { "jina-v2-es",               HYBRID__ONE(gpt2), false, false, false },
        { "jina-v2-de",               HYBRID__ONE(gpt2), false, false, false },
        { "jina-v2-code",             HYBRID__ONE(gpt2), false, false, false },
        { "roberta-bpe",              HYBRID__ONE(gpt2), false, false, false },
        { "mellum",                   HYBRID__ONE(gpt2), false, false, false },
        { "olmo",                     HYBRID__ONE(gpt2), false, false, true },
        { "mpt",                      HYBRID__ONE(gpt2), false, false, true },
        { "modern-bert",              HYBRID__ONE(gpt2), false, false, true },
        { "llama-bpe",                HYBRID__ONE(llama3), true, true, false },
        { "llama3",                   HYBRID__ONE(llama3), true, true, false },
        { "llama-v3",                 HYBRID__ONE(llama3), true, true, false },
        { "falcon3",                  HYBRID__ONE(llama3), true, true, false },
        { "falcon-h1",                HYBRID__ONE(llama3), true, true, false },
        { "pixtral",                  HYBRID__ONE(llama3), true, true, false },
        { "midm-2.0",                 HYBRID__ONE(llama3), true, true, false },
        { "lfm2",                     HYBRID__ONE(llama3), true, true, false },
        { "jina-v5-nano",             HYBRID__ONE(llama3), true, true, false },
        { "glm4",                     HYBRID__ONE(llama3), true, false, false },
        { "glm5",                     HYBRID__ONE(llama3), true, false, false },
        { "cl100k",                   HYBRID__ONE(llama3), false, false, false },
        { "dbrx",                     HYBRID__ONE(llama3), false, false, false },
        { "smaug-bpe",                HYBRID__ONE(llama3), false, false, false },
        { "chatglm-bpe",              HYBRID__ONE(llama3), false, false, false },
        { "qwen2",                    HYBRID__ONE(qwen2), false, false, true },
        { "deepseek-r1-qwen",         HYBRID__ONE(qwen2), false, false, true },
        { "stablelm2",                HYBRID__ONE(qwen2), false, false, true },
        { "f2llmv2",                  HYBRID__ONE(qwen2), false, false, true },
        { "hunyuan",                  HYBRID__ONE(qwen2), false, false, false },
        { "megrez",                   HYBRID__ONE(qwen2), false, false, false },
        { "bailingmoe",               HYBRID__ONE(qwen2), false, false, false },
        { "bailingmoe2",              HYBRID__ONE(qwen2), false, false, false },
        { "llada-moe",                HYBRID__ONE(qwen2), false, false, false },
        { "kormo",                    HYBRID__ONE(qwen2), false, false, false },
        { "grok-2",                   HYBRID__ONE(qwen2), false, false, false },
        { "solar-open",               HYBRID__ONE(qwen2), false, false, false },
        { "qwen35",                   HYBRID__ONE(qwen35), false, false, true },
        { "gpt-4o",                   HYBRID__ONE(gpt4o), false, false, false },
        { "o200k",                    HYBRID__ONE(gpt4o), false, false, false },
        { "llama4",                   HYBRID__ONE(gpt4o), false, false, false },
        { "kanana2",                  HYBRID__ONE(gpt4o), false, false, false },
        { "minimax-m2",               HYBRID__ONE(gpt4o), false, false, false },
        { "talkie",                   HYBRID__ONE(gpt4o), false, false, false },
        { "granite-embed-multi-97m",  HYBRID__ONE(gpt4o), true, false, false },
        { "tekken",                   HYBRID__ONE(tekken), true, true, false },
        { "starcoder",                HYBRID__TWO(number1, gpt2), false, false, false },
        { "refact",                   HYBRID__TWO(number1, gpt2), false, false, false },
        { "smollm",                   HYBRID__TWO(number1, gpt2), false, false, false },
        { "codeshell",                HYBRID__TWO(number1, gpt2), false, false, false },
        { "exaone",                   HYBRID__TWO(number1, gpt2), false, false, false },
        { "minerva-7b",               HYBRID__TWO(number1, gpt2), false, false, false },
        { "mellum2",                  HYBRID__TWO(number1, gpt2), false, false, false },
        { "command-r",                HYBRID__TWO(number1, gpt2), false, false, true },
        { "deepseek-v3",              HYBRID__DEEPSEEK3, false, false, false },
        { "hunyuan-dense",            HYBRID__DEEPSEEK3, false, false, false },
        { "joyai-llm",                HYBRID__DEEPSEEK3, false, false, false },
        { "hy_v4",                    HYBRID__DEEPSEEK3, false, false, false },
        { "spark2_5",                 HYBRID__THREE(number1, deepseek3_cjk, spark), false, false, false },
        { "bloom",                    HYBRID__ONE(bloom), false, false, false },
        { "gpt3-finnish",             HYBRID__ONE(bloom), false, false, false },
        { "poro-chat",                HYBRID__ONE(bloom), false, false, false },
        { "viking",                   HYBRID__TWO(bloom, number1), false, false, false },
        { "seed-coder",               HYBRID__ONE(seed_coder), false, false, false },
        { "ufakzeka",                 HYBRID__ONE(ufakzeka), false, false, false },
        { "minicpm5",                 HYBRID__TWO(number3, llama3), true, false, false },
        { "superbpe",                 HYBRID__THREE(numbers, superbpe, digit_thirds), false, false, false },
        { "exaone-moe",               HYBRID__ONE(exaone_moe), false, false, false },
        { "jais-2",                   HYBRID__TWO(llama3, jais_spaces), false, false, false },
        { "laguna",                   HYBRID__TWO(lines, qwen2), false, false, false },
        { "falcon",                   HYBRID__THREE(falcon_marks, gpt2, digits3), false, false, false },
        { "chameleon",                { hybrid__split_sentinel, hybrid__split_image, hybrid__split_indent,
                                        hybrid__split_number1, hybrid__split_one_mark, hybrid__split_gpt2, NULL },
                                      false, true, false },
        { "kimi-k2",                  HYBRID__ONE(kimi), false, false, false },
        { "youtu",                    HYBRID__TWO(youtu, gpt4o_digits), true, false, false },
        { "tiny_aya",                 HYBRID__THREE(digits_first, groups, gpt4o), false, false, true },
        { "cohere2moe",               HYBRID__THREE(digits_first, groups, gpt4o), false, false, true },
        { "afmoe",                    { hybrid__split_number_first, hybrid__split_number_thirds,
                                        hybrid__split_afmoe_letters, hybrid__split_deepseek3, NULL, NULL, NULL },
                                      false, false, false },
        { "default",                  { hybrid__split_default_marks, hybrid__split_gpt2, hybrid__split_numbers,
                                        hybrid__split_digits3, NULL, NULL, NULL }, false, false, false },
        { "deepseek-coder",           { hybrid__split_line_breaks, hybrid__split_letters, hybrid__split_punctuation,
                                        hybrid__split_deepseek_cjk, hybrid__split_number1, NULL, NULL },
                                      false, false, false },
        { "deepseek-llm",             { hybrid__split_line_breaks, hybrid__split_deepseek_letters,
                                        hybrid__split_deepseek_marks, hybrid__split_trailing_space,
                                        hybrid__split_deepseek_cjk, hybrid__split_numbers, NULL }, false, false, false }
    };
    size_t i;
    if (!size) return &table[0];
    for (i = 0; i < HYBRID__COUNT(table); i++)
        if (strlen(table[i].name) == size && !memcmp(table[i].name, name, size)) return &table[i];
    return NULL;
}
