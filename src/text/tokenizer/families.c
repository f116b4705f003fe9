/* text/tokenizer/families: what the expressions of single families have that others have not, and the table of their
 * names. */
#ifndef HYB_TEXT_TOKENIZER_FAMILIES_C
#define HYB_TEXT_TOKENIZER_FAMILIES_C
#include "pretokenize.c"

/* The pieces of an expression that leaves out some of a text: what it matches, and what lies between. match(...)
 * returns p for no match. */
typedef const uint8_t *(*hyb_match_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end);

static HYB_NOINLINE const uint8_t *hyb_split_matches(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                    hyb_match_fn match)
{
    const uint8_t *q = match(classes, p, end);
    size_t length;
    if (q != p) return q;
    do {
        hyb_class_at(classes, q, end, &length);
        q += length;
    } while (q < end && match(classes, q, end) == q);
    return q;
}

/* ---- Seed-Coder, Ufakzeka, Spark: known expressions with a part less --------------------------------------------- */

static const uint8_t *hyb_split_seed_coder(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_gpt4(classes, p, end, HYB_LETTERS, 1, HYB_NO_LINE_ENDS);
}
static const uint8_t *hyb_split_ufakzeka(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_gpt4(classes, p, end, HYB_LETTERS, 1, HYB_NO_CONTRACTIONS);
}
static const uint8_t *hyb_split_spark(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_deepseek(classes, p, end, false);
}

/* ---- Poro, Viking, BLOOM:  ?[^(\s|.,!?...)]+ and what lies between ----------------------------------------------- */

static bool hyb_is_bloom_word(unsigned k, uint32_t c)
{
    if (hyb_in_set(HYB_SPACES, k)) return false;
    if (c < 0x80) return !(c == '(' || c == '|' || c == '.' || c == ',' || c == '!' || c == '?' || c == ')');
    return c != 0x2026 && c != 0x3002 && c != 0xFF0C && c != 0x3001 && c != 0x964 && c != 0x6D4 && c != 0x60C;
}

static const uint8_t *hyb_match_bloom(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *begin = *p == ' ' ? p + 1 : p;
    const uint8_t *q = begin < end ? hyb_match_members(classes, begin, end, hyb_is_bloom_word, false) : begin;
    return q != begin ? q : p;
}
static const uint8_t *hyb_split_bloom(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_matches(classes, p, end, hyb_match_bloom);
}

/* ---- SuperBPE: (?=(\d{3})+(?!\d)), numbers in groups of three from their ends ----
 *
 * A matcher that counts the digits ahead of every group would take quadratic time, so there are two: what is in front
 * of the full groups of a number, and these. */

static bool hyb_is_decimal(uint32_t c)
{
    return c != UINT32_MAX && hyb_in_edges(hyb_digit_edges, HYB_COUNT(hyb_digit_edges), c);
}

/* Beyond \d from p on; *n: how many. */
static HYB_NOINLINE const uint8_t *hyb_digits_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                 size_t *n)
{
    size_t length;
    uint32_t c;
    for (*n = 0; p < end; p += length, ++*n)
        if (hyb_char_at(classes, p, end, &length, &c) != HYB_CHAR_NUMBER || !hyb_is_decimal(c)) break;
    return p;
}

/* SuperBPE's expression is of no width: the last three digits stay with what follows them. Pieces are of \p{N}. */
static const uint8_t *hyb_split_superbpe(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *begin = p, *q;
    size_t n, k, length;
    for (; p < end; p = q) {
        q = hyb_digits_of(classes, p, end, &n);
        if (!n) {
            hyb_class_at(classes, q, end, &length);
            q += length;
        }
        else if (n < 3) {}
        else if (n % 3 || n > 3 || p != begin) {
            k = n % 3 ? n % 3 : p != begin ? 0 : n - 3;
            for (; k; k--, p += length) hyb_class_at(classes, p, end, &length);
            return p;
        }
    }
    return end;
}

/* Four digits begin only what is full groups and nothing else. */
static const uint8_t *hyb_split_digit_thirds(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *third = end;
    size_t n, length;
    uint32_t c;
    for (n = 0; n < 4; n++, p += length) {
        if (n == 3) third = p;
        if (p == end || hyb_char_at(classes, p, end, &length, &c) != HYB_CHAR_NUMBER) return end;
        if (!hyb_is_decimal(c)) return end;
    }
    return third;
}

/* The class of the last character before end. */
static HYB_NOINLINE unsigned hyb_last_class(const uint8_t *classes, const uint8_t *p, const uint8_t *end, uint32_t *c)
{
    const uint8_t *q = end - 1;
    size_t length;
    unsigned k;
    while (q > p && end - q < 4 && (*q & 0xC0) == 0x80) q--;
    k = hyb_char_at(classes, q, end, &length, c);
    return q + length == end ? k : (unsigned)HYB_CHAR_OTHER;
}

/* ---- AFMoE, Tiny Aya, North: numbers in groups of three from their ends, what is left in front ----
 *
 * Two matchers again, for linear time: the first cuts off what is left, the second what is full groups. */

/* Beyond the number that begins at p, p when none does; *n: how long, 0 for one that is not cut. */
typedef const uint8_t *(*hyb_number_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n);

static HYB_NOINLINE const uint8_t *hyb_split_first_group(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                        hyb_number_fn number)
{
    const uint8_t *begin = p, *q = p;
    size_t n = 0, length;
    for (; p < end; p = q) {
        q = number(classes, p, end, &n);
        if (n) break;
        if (q == p) {
            hyb_class_at(classes, q, end, &length);
            q += length;
        }
    }
    if (p != begin) return p;
    if (n % 3 == 0) return q;
    for (n %= 3; n; n--, p += length) hyb_class_at(classes, p, end, &length);
    return p;
}

/* \p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})) */
static const uint8_t *hyb_number_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n)
{
    size_t length;
    for (*n = 0; p < end; p += length, ++*n)
        if (hyb_class_at(classes, p, end, &length) != HYB_CHAR_NUMBER) break;
    return p;
}
static const uint8_t *hyb_split_number_first(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_first_group(classes, p, end, hyb_number_of);
}
static const uint8_t *hyb_split_number_thirds(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t n, length;
    for (n = 0; n < 3 && p < end; n++, p += length)
        if (hyb_class_at(classes, p, end, &length) != HYB_CHAR_NUMBER) return end;
    return p;
}

/* \d{1,3}(?=(?:\d{3})*\b): no number that a letter follows. */
static const uint8_t *hyb_number_of_its_own(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *n)
{
    const uint8_t *q = hyb_digits_of(classes, p, end, n);
    size_t length;
    uint32_t c;
    unsigned k;
    if (q == p || q == end) return q;
    k = hyb_char_at(classes, q, end, &length, &c);
    if (hyb_in_set(HYB_LETTERS | HYB_CHARS(MARK), k)) *n = 0;
    if (c != UINT32_MAX && hyb_in_edges(hyb_word_edges, HYB_COUNT(hyb_word_edges), c)) *n = 0;
    return q;
}
static const uint8_t *hyb_split_digits_first(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_first_group(classes, p, end, hyb_number_of_its_own);
}

/* Of the pieces that the first matcher leaves, groups begin and end with a digit; one with another number may begin
 * so, but goes on after it. */
static const uint8_t *hyb_split_groups(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    uint32_t c;
    if (hyb_last_class(classes, p, end, &c) != HYB_CHAR_NUMBER || !hyb_is_decimal(c)) return end;
    return hyb_split_digit_thirds(classes, p, end);
}

/* AFMoE: letters of East Asia's scripts. */
static bool hyb_is_afmoe_letter(unsigned k, uint32_t c)
{
    static const uint32_t edges[] = {
        0xE40, 0xF00, 0x1000, 0x10A0, 0x1100, 0x1200, 0x1780, 0x1800, 0x2F00, 0x2FE0, 0x3040, 0x3100, 0x3400, 0x4DC0,
        0x4E00, 0xD7B0, 0xF900, 0xFB00, 0xFF65, 0xFFA0
    };
    HYB_UNUSED(k);
    return c != UINT32_MAX && hyb_in_edges(edges, HYB_COUNT(edges), c);
}
static const uint8_t *hyb_split_afmoe_letters(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_members(classes, p, end, hyb_is_afmoe_letter, false);
}

/* ---- Youtu: [\uAC00-\uD7A3\u3131-\u318E]+|[\uFF01...\u3001-\u303F\uFE30-\uFE4F]+|[\u3105-\u312F]+|
 * [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+ ---- */

/* Which of the four sets c is in, 0 for none. */
static int hyb_youtu_set(uint32_t c)
{
    if (c < 0x2014) return 0;
    if (c < 0x3001)
        return c == 0x2014 || c == 0x2018 || c == 0x2019 || c == 0x201C || c == 0x201D || c == 0x2026 ? 2 : 0;
    if (c < 0x3040) return 2;
    if (c < 0x3105) return c < 0x3100 ? 4 : 0;
    if (c < 0x3131) return c < 0x3130 ? 3 : 0;
    if (c < 0x4E00) return c < 0x318F ? 1 : 0;
    if (c < 0xAC00) return c < 0x9FA6 ? 4 : 0;
    if (c < 0xFE30) return c < 0xD7A4 ? 1 : 0;
    return c < 0xFE50 || c == 0xFF01 || c == 0xFF0C || c == 0xFF1A || c == 0xFF1B ? 2 : 0;
}
static const uint8_t *hyb_match_youtu(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t length;
    uint32_t c;
    int set;
    hyb_char_at(classes, p, end, &length, &c);
    if (!(set = hyb_youtu_set(c))) return p;
    for (p += length; p < end; p += length) {
        hyb_char_at(classes, p, end, &length, &c);
        if (hyb_youtu_set(c) != set) break;
    }
    return p;
}
static const uint8_t *hyb_split_youtu(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_matches(classes, p, end, hyb_match_youtu);
}

/* \p{N} and all else as GPT-4o has it. */
static const uint8_t *hyb_split_gpt4o_digits(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_cased(classes, p, end, true, 1);
}

/* ---- Kimi K2: [\p{Han}]+ and GPT-4o's words, whose letters are [...&&[^\p{Han}]]; no slash after a mark ---------- */

static const uint8_t *hyb_split_kimi(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    uint32_t c;
    for (q = p; q < end; q += length) {
        hyb_char_at(classes, q, end, &length, &c);
        if (c < hyb_han_edges[0] || c == UINT32_MAX) break;
        if (!hyb_in_edges(hyb_han_edges, HYB_COUNT(hyb_han_edges), c)) break;
    }
    if (q != p || (q = hyb_cased_word(classes, p, end, true, true)) != p) return q;
    return hyb_split_no_word(classes, p, end, 3, false);
}

/* ---- EXAONE-MoE -------------------------------------------------------------------------------------------------- */

/* \p{L}\p{M}*(?: \p{L}\p{M}*)*, again and again: letters, the marks after them, single spaces between two such; p
 * when none begins there. */
static const uint8_t *hyb_spaced_letters(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    while ((q = hyb_char_of(classes, p, end, HYB_LETTERS)) != p) {
        p = hyb_chars_of(classes, q, end, HYB_CHARS(MARK));
        if (end - p > 1 && *p == ' ' && hyb_char_of(classes, p + 1, end, HYB_LETTERS) != p + 1) p++;
    }
    return p;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|
 * \s*[\r\n]|\s+(?!\S)|\s+ */
static const uint8_t *hyb_split_exaone_moe(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    unsigned k;
    if (*p == '\'' && (q = hyb_match_contraction(p, end, true)) != p) return q;
    k = hyb_class_at(classes, p, end, &length);
    if (k == HYB_CHAR_NUMBER) return p + length;
    if (hyb_in_set(HYB_LETTERS, k)) return hyb_spaced_letters(classes, p, end);
    if (k != HYB_CHAR_NEWLINE && (q = hyb_spaced_letters(classes, p + length, end)) != p + length) return q;
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    k = hyb_class_at(classes, q, end, &length);
    if (!hyb_in_set(HYB_REST, k)) return hyb_match_lines(classes, p, end);
    q = hyb_chars_of(classes, q, end, HYB_REST);
    return q < end && (*q == '\r' || *q == '\n' || *q == '/') ? q + 1 : q;
}

/* ---- Jais 2 ------------------------------------------------------------------------------------------------------ */

/* ...|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} is
 * \s+(?!\S)|\s+ of Llama 3, cut into powers of two. */
static const uint8_t *hyb_split_jais_spaces(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t n = 0, most = 512, length;
    const uint8_t *q;
    uint32_t c;
    if (!hyb_in_set(HYB_SPACES, hyb_class_at(classes, p, end, &length))) return end;
    if (hyb_last_class(classes, p, end, &c) != HYB_CHAR_SPACE) return end;
    for (q = p; q < end && n < 512; n++, q += length) hyb_class_at(classes, q, end, &length);
    while (most > n) most /= 2;
    for (; most; most--, p += length) hyb_class_at(classes, p, end, &length);
    return p;
}

/* ---- Laguna: [^\n]+|[\n]+ ---------------------------------------------------------------------------------------- */

static const uint8_t *hyb_split_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const bool line = *p == '\n';
    HYB_UNUSED(classes);
    while (p < end && (*p == '\n') == line) p++;
    return p;
}

/* ---- Chameleon --------------------------------------------------------------------------------------------------- */

/* <sentinel:[0-9]+> */
static const uint8_t *hyb_match_sentinel(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + 10;
    HYB_UNUSED(classes);
    if (end - p < 12 || memcmp(p, "<sentinel:", 10)) return p;
    while (q < end && *q >= '0' && *q <= '9') q++;
    return q > p + 10 && q < end && *q == '>' ? q + 1 : p;
}

/* (IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z */
static const uint8_t *hyb_match_image(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p + 6;
    HYB_UNUSED(classes);
    if (end - p < 8 || memcmp(p, "IMGIMG", 6)) return p;
    while (q < end && q < p + 10 && *q >= 'A' && *q <= 'I') q++;
    return q > p + 6 && q < end && *q == 'Z' ? q + 1 : p;
}

/* ([\t\n]|    |  ) */
static const uint8_t *hyb_match_indent(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYB_UNUSED(classes);
    if (*p == '\t' || *p == '\n') return p + 1;
    if (end - p >= 4 && !memcmp(p, "    ", 4)) return p + 4;
    return end - p >= 2 && !memcmp(p, "  ", 2) ? p + 2 : p;
}

/* [\p{P}!-/:-@\[-`{-~] */
static const uint8_t *hyb_match_one_mark(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    size_t length;
    const unsigned k = hyb_class_at(classes, p, end, &length);
    return k == HYB_CHAR_PUNCTUATION || (*p < 0x80 && k == HYB_CHAR_SYMBOL) ? p + length : p;
}

#define HYB_SPLIT_MATCHES(name)                                                                          \
    static const uint8_t *hyb_split_##name(const uint8_t *classes, const uint8_t *p, const uint8_t *end) \
    {                                                                                                        \
        return hyb_split_matches(classes, p, end, hyb_match_##name);                                 \
    }
HYB_SPLIT_MATCHES(sentinel)
HYB_SPLIT_MATCHES(image)
HYB_SPLIT_MATCHES(indent)
HYB_SPLIT_MATCHES(one_mark)
#undef HYB_SPLIT_MATCHES

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define HYB_ONE(a)         { hyb_split_##a, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYB_TWO(a, b)      { hyb_split_##a, hyb_split_##b, NULL, NULL, NULL, NULL, NULL }
#define HYB_THREE(a, b, c) { hyb_split_##a, hyb_split_##b, hyb_split_##c, NULL, NULL, NULL, NULL }
#define HYB_DEEPSEEK3      HYB_THREE(number3, deepseek3_cjk, deepseek3)

/* The name of tokenizer.ggml.pre (or of a tiktoken encoding); nothing at all is gpt-2. NULL: hybrid does not have it.
 * The columns of flags: words that are tokens are taken whole; BOS is added where the file does not say; the text is
 * brought to normalization form C first, which holds for Qwen 2 and later, GPT-NeoX's kin (olmo, mpt, modern-bert),
 * Cohere's models and StableLM 2, as their Hugging Face tokenizers say. */
static const hyb_pretokenizer *hyb_find_pretokenizer(const char *name, size_t size)
{
    static const hyb_pretokenizer table[] = {
        { "gpt-2",                    HYB_ONE(gpt2), false, false, false },
        { "r50k",                     HYB_ONE(gpt2), false, false, false },
        { "p50k",                     HYB_ONE(gpt2), false, false, false },
        { "phi-2",                    HYB_ONE(gpt2), false, false, false },
        { "jais",                     HYB_ONE(gpt2), false, false, false },
        { "trillion",                 HYB_ONE(gpt2), false, false, false },
        { "exaone4",                  HYB_ONE(gpt2), false, false, false },
        { "granite-docling",          HYB_ONE(gpt2), false, false, false },
        { "gigachat",                 HYB_ONE(gpt2), false, false, false },
        { "a.x-4.0",                  HYB_ONE(gpt2), false, false, false },
        { "jina-es",                  HYB_ONE(gpt2), false, false, false },
        { "jina-de",                  HYB_ONE(gpt2), false, false, false },
        { "jina-v1-en",               HYB_ONE(gpt2), false, false, false },
        { "jina-v2-es",               HYB_ONE(gpt2), false, false, false },
        { "jina-v2-de",               HYB_ONE(gpt2), false, false, false },
        { "jina-v2-code",             HYB_ONE(gpt2), false, false, false },
        { "roberta-bpe",              HYB_ONE(gpt2), false, false, false },
        { "mellum",                   HYB_ONE(gpt2), false, false, false },
        { "olmo",                     HYB_ONE(gpt2), false, false, true },
        { "mpt",                      HYB_ONE(gpt2), false, false, true },
        { "modern-bert",              HYB_ONE(gpt2), false, false, true },
        { "llama-bpe",                HYB_ONE(llama3), true, true, false },
        { "llama3",                   HYB_ONE(llama3), true, true, false },
        { "llama-v3",                 HYB_ONE(llama3), true, true, false },
        { "falcon3",                  HYB_ONE(llama3), true, true, false },
        { "falcon-h1",                HYB_ONE(llama3), true, true, false },
        { "pixtral",                  HYB_ONE(llama3), true, true, false },
        { "midm-2.0",                 HYB_ONE(llama3), true, true, false },
        { "lfm2",                     HYB_ONE(llama3), true, true, false },
        { "jina-v5-nano",             HYB_ONE(llama3), true, true, false },
        { "glm4",                     HYB_ONE(llama3), true, false, false },
        { "glm5",                     HYB_ONE(llama3), true, false, false },
        { "cl100k",                   HYB_ONE(llama3), false, false, false },
        { "dbrx",                     HYB_ONE(llama3), false, false, false },
        { "smaug-bpe",                HYB_ONE(llama3), false, false, false },
        { "chatglm-bpe",              HYB_ONE(llama3), false, false, false },
        { "qwen2",                    HYB_ONE(qwen2), false, false, true },
        { "deepseek-r1-qwen",         HYB_ONE(qwen2), false, false, true },
        { "stablelm2",                HYB_ONE(qwen2), false, false, true },
        { "f2llmv2",                  HYB_ONE(qwen2), false, false, true },
        { "hunyuan",                  HYB_ONE(qwen2), false, false, false },
        { "megrez",                   HYB_ONE(qwen2), false, false, false },
        { "bailingmoe",               HYB_ONE(qwen2), false, false, false },
        { "bailingmoe2",              HYB_ONE(qwen2), false, false, false },
        { "llada-moe",                HYB_ONE(qwen2), false, false, false },
        { "kormo",                    HYB_ONE(qwen2), false, false, false },
        { "grok-2",                   HYB_ONE(qwen2), false, false, false },
        { "solar-open",               HYB_ONE(qwen2), false, false, false },
        { "qwen35",                   HYB_ONE(qwen35), false, false, true },
        { "gpt-4o",                   HYB_ONE(gpt4o), false, false, false },
        { "o200k",                    HYB_ONE(gpt4o), false, false, false },
        { "llama4",                   HYB_ONE(gpt4o), false, false, false },
        { "kanana2",                  HYB_ONE(gpt4o), false, false, false },
        { "minimax-m2",               HYB_ONE(gpt4o), false, false, false },
        { "talkie",                   HYB_ONE(gpt4o), false, false, false },
        { "granite-embed-multi-97m",  HYB_ONE(gpt4o), true, false, false },
        { "tekken",                   HYB_ONE(tekken), true, true, false },
        { "starcoder",                HYB_TWO(number1, gpt2), false, false, false },
        { "refact",                   HYB_TWO(number1, gpt2), false, false, false },
        { "smollm",                   HYB_TWO(number1, gpt2), false, false, false },
        { "codeshell",                HYB_TWO(number1, gpt2), false, false, false },
        { "exaone",                   HYB_TWO(number1, gpt2), false, false, false },
        { "minerva-7b",               HYB_TWO(number1, gpt2), false, false, false },
        { "mellum2",                  HYB_TWO(number1, gpt2), false, false, false },
        { "command-r",                HYB_TWO(number1, gpt2), false, false, true },
        { "deepseek-v3",              HYB_DEEPSEEK3, false, false, false },
        { "hunyuan-dense",            HYB_DEEPSEEK3, false, false, false },
        { "joyai-llm",                HYB_DEEPSEEK3, false, false, false },
        { "hy_v4",                    HYB_DEEPSEEK3, false, false, false },
        { "spark2_5",                 HYB_THREE(number1, deepseek3_cjk, spark), false, false, false },
        { "bloom",                    HYB_ONE(bloom), false, false, false },
        { "gpt3-finnish",             HYB_ONE(bloom), false, false, false },
        { "poro-chat",                HYB_ONE(bloom), false, false, false },
        { "viking",                   HYB_TWO(bloom, number1), false, false, false },
        { "seed-coder",               HYB_ONE(seed_coder), false, false, false },
        { "ufakzeka",                 HYB_ONE(ufakzeka), false, false, false },
        { "minicpm5",                 HYB_TWO(number3, llama3), true, false, false },
        { "superbpe",                 HYB_THREE(numbers, superbpe, digit_thirds), false, false, false },
        { "exaone-moe",               HYB_ONE(exaone_moe), false, false, false },
        { "jais-2",                   HYB_TWO(llama3, jais_spaces), false, false, false },
        { "laguna",                   HYB_TWO(lines, qwen2), false, false, false },
        { "falcon",                   HYB_THREE(falcon_marks, gpt2, digits3), false, false, false },
        { "chameleon",                { hyb_split_sentinel, hyb_split_image, hyb_split_indent,
                                        hyb_split_number1, hyb_split_one_mark, hyb_split_gpt2, NULL },
                                      false, true, false },
        { "kimi-k2",                  HYB_ONE(kimi), false, false, false },
        { "youtu",                    HYB_TWO(youtu, gpt4o_digits), true, false, false },
        { "tiny_aya",                 HYB_THREE(digits_first, groups, gpt4o), false, false, true },
        { "cohere2moe",               HYB_THREE(digits_first, groups, gpt4o), false, false, true },
        { "afmoe",                    { hyb_split_number_first, hyb_split_number_thirds,
                                        hyb_split_afmoe_letters, hyb_split_deepseek3, NULL, NULL, NULL },
                                      false, false, false },
        { "default",                  { hyb_split_default_marks, hyb_split_gpt2, hyb_split_numbers,
                                        hyb_split_digits3, NULL, NULL, NULL }, false, false, false },
        { "deepseek-coder",           { hyb_split_line_breaks, hyb_split_letters, hyb_split_punctuation,
                                        hyb_split_deepseek_cjk, hyb_split_number1, NULL, NULL },
                                      false, false, false },
        { "deepseek-llm",             { hyb_split_line_breaks, hyb_split_deepseek_letters,
                                        hyb_split_deepseek_marks, hyb_split_trailing_space,
                                        hyb_split_deepseek_cjk, hyb_split_numbers, NULL }, false, false, false }
    };
    size_t i;
    if (!size) return &table[0];
    for (i = 0; i < HYB_COUNT(table); i++)
        if (strlen(table[i].name) == size && !memcmp(table[i].name, name, size)) return &table[i];
    return NULL;
}
#endif
