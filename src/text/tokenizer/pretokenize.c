/* text/tokenizer/pretokenize: cuts text into the words inside which BPE merges. Each model family was trained with its
 * own regular expressions; here every one is a small matcher by hand, quoted above it, and a family is a row of up to
 * six of them, each applied inside the pieces of the one before. A matcher gets p < end, the beginning and the end of a
 * piece, and returns the end of the first word. */
#ifndef HYB_TEXT_TOKENIZER_PRETOKENIZE_C
#define HYB_TEXT_TOKENIZER_PRETOKENIZE_C
#include "../unicode.c"

typedef const uint8_t *(*hyb_split_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end);

typedef struct hyb_pretokenizer {
    const char *name;
    hyb_split_fn splits[7]; /* zero ends the list */
    bool whole_words;       /* a word that is a token is that token, whatever the merges say ("ignore_merges") */
    bool add_bos;
    bool nfc; /* Hugging Face's tokenizer puts normalization form C in front */
} hyb_pretokenizer;

#define HYB_CHARS(name) (1u << HYB_CHAR_##name)
#define HYB_CASED_UP    (HYB_CHARS(LU) | HYB_CHARS(LT))
#define HYB_CASELESS    (HYB_CHARS(LM) | HYB_CHARS(LO))
#define HYB_LETTERS     (HYB_CASED_UP | HYB_CHARS(LL) | HYB_CASELESS)
#define HYB_SPACES      (HYB_CHARS(SPACE) | HYB_CHARS(NEWLINE))
#define HYB_REST        (0xFFFu & ~(HYB_LETTERS | HYB_CHARS(NUMBER) | HYB_SPACES)) /* [^\s\p{L}\p{N}] */

HYB_INLINE bool hyb_in_set(unsigned set, unsigned char_class) { return (set >> char_class & 1) != 0; }

/* Whether c is in a set that is told by its edges: the first of a run, the first after it, and so on. */
static bool hyb_in_edges(const uint32_t *edges, size_t n, uint32_t c)
{
    size_t low = 0;
    while (low < n) {
        const size_t middle = (low + n) / 2;
        if (edges[middle] <= c)
            low = middle + 1;
        else
            n = middle;
    }
    return low & 1;
}

/* The class of the character at p and its length. This and what follows are here twice: inlined into GPT-2's and
 * GPT-4's expressions, which most families have and whose speed is felt, and as functions for all the others, which
 * would else take seconds to compile. */
HYB_INLINE unsigned hyb_class_at_inline(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *length)
{
    uint32_t code_point;
    return hyb_char_at_inline(classes, p, end, length, &code_point);
}

/* Beyond the characters from p that are in the set. */
HYB_INLINE const uint8_t *hyb_chars_of_inline(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                              unsigned set)
{
    size_t length;
    while (p < end && hyb_in_set(set, hyb_class_at_inline(classes, p, end, &length))) p += length;
    return p;
}

/* Beyond one character that is in the set; p itself when it is not. */
HYB_INLINE const uint8_t *hyb_char_of_inline(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    size_t length;
    return p < end && hyb_in_set(set, hyb_class_at_inline(classes, p, end, &length)) ? p + length : p;
}

static HYB_NOINLINE unsigned hyb_char_at(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *length,
                                         uint32_t *code_point)
{
    return hyb_char_at_inline(classes, p, end, length, code_point);
}
static HYB_NOINLINE unsigned hyb_class_at(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *length)
{
    return hyb_class_at_inline(classes, p, end, length);
}
static HYB_NOINLINE const uint8_t *hyb_chars_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                unsigned set)
{
    return hyb_chars_of_inline(classes, p, end, set);
}
static HYB_NOINLINE const uint8_t *hyb_char_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                               unsigned set)
{
    return hyb_char_of_inline(classes, p, end, set);
}

/* 's|'t|'re|'ve|'m|'ll|'d at p; p when it is none. Without case, s is also U+017F, as Unicode folds it. */
HYB_INLINE const uint8_t *hyb_match_contraction(const uint8_t *p, const uint8_t *end, bool any_case)
{
    uint8_t a, b, fold = any_case ? 0x20 : 0;
    if (end - p < 2 || *p != '\'') return p;
    a = (uint8_t)(p[1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
    if (end - p < 3) return p;
    b = (uint8_t)(p[2] | fold);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
    return any_case && p[1] == 0xC5 && p[2] == 0xBF ? p + 3 : p;
}

/* \s+(?!\S)|\s+ : white space from p to the end of its run, but its last character only where nothing follows or
 * nothing else is there. */
static HYB_NOINLINE const uint8_t *hyb_match_spaces(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *last = p, *q = p;
    size_t length;
    while (q < end && hyb_in_set(HYB_SPACES, hyb_class_at_inline(classes, q, end, &length))) {
        last = q;
        q += length;
    }
    return q == end || last == p ? q : last;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : as above, but first up to the last line break of the run. */
static HYB_NOINLINE const uint8_t *hyb_match_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p, *line = p;
    size_t length;
    if (HYB_LIKELY(end - p > 1 && p[0] == ' ' && p[1] > ' ' && p[1] < 0x7F)) return p + 1;
    while (q < end) {
        unsigned k = hyb_class_at_inline(classes, q, end, &length);
        if (!hyb_in_set(HYB_SPACES, k)) break;
        q += length;
        if (k == HYB_CHAR_NEWLINE) line = q;
    }
    return line > p ? line : hyb_match_spaces(classes, p, end);
}

/* GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const uint8_t *hyb_split_gpt2(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    unsigned k;
    if (*p == '\'' && (q = hyb_match_contraction(p, end, false)) != p) return q;
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    k = hyb_class_at_inline(classes, q, end, &length);
    if (hyb_in_set(HYB_LETTERS, k)) return hyb_chars_of_inline(classes, q + length, end, HYB_LETTERS);
    if (k == HYB_CHAR_NUMBER) return hyb_chars_of_inline(classes, q + length, end, HYB_CHARS(NUMBER));
    if (hyb_in_set(HYB_REST, k)) return hyb_chars_of_inline(classes, q + length, end, HYB_REST);
    return hyb_match_spaces(classes, p, end);
}

#define HYB_NO_CONTRACTIONS 1u /* without the first alternative */
#define HYB_NO_LINE_ENDS    2u /* without [\r\n]* after what is neither letter nor number */

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?LETTERS+|\p{N}{1,DIGITS}| ?[^\s LETTERS
 * \p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static HYB_NOINLINE const uint8_t *hyb_split_gpt4(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                  unsigned letters, int digits, unsigned without)
{
    const unsigned rest = HYB_REST & ~letters;
    const uint8_t *q;
    size_t length;
    unsigned k, next;
    if (!(without & HYB_NO_CONTRACTIONS) && (q = hyb_match_contraction(p, end, true)) != p) return q;
    k = hyb_class_at_inline(classes, p, end, &length);
    q = p + length;
    if (k == HYB_CHAR_NUMBER) {
        while (--digits > 0) q = hyb_char_of_inline(classes, q, end, HYB_CHARS(NUMBER));
        return q;
    }
    if (hyb_in_set(HYB_LETTERS, k)) return hyb_chars_of_inline(classes, q, end, letters);
    next = HYB_CHAR_SPACE;
    if (q < end) {
        next = hyb_class_at_inline(classes, q, end, &length);
        if (k != HYB_CHAR_NEWLINE && hyb_in_set(letters, next))
            return hyb_chars_of_inline(classes, q + length, end, letters);
    }
    if (hyb_in_set(letters, k))
        return hyb_chars_of_inline(classes, q, end, letters); /* a mark, where marks are letters */
    if (*p == ' ' && hyb_in_set(rest, next))
        q += length;
    else if (!hyb_in_set(rest, k))
        return hyb_match_lines(classes, p, end);
    q = hyb_chars_of_inline(classes, q, end, rest);
    return without & HYB_NO_LINE_ENDS ? q : hyb_chars_of_inline(classes, q, end, HYB_CHARS(NEWLINE));
}

static const uint8_t *hyb_split_llama3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_gpt4(classes, p, end, HYB_LETTERS, 3, 0);
}
static const uint8_t *hyb_split_qwen2(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_gpt4(classes, p, end, HYB_LETTERS, 1, 0);
}
static const uint8_t *hyb_split_qwen35(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_gpt4(classes, p, end, HYB_LETTERS | HYB_CHARS(MARK), 1, 0);
}

/* The class of the character at p; of one of the script Han, where those are not letters, that of what is in no set. */
static HYB_NOINLINE unsigned hyb_cased_class(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                             size_t *length, bool without_han)
{
    uint32_t c;
    const unsigned k = hyb_char_at(classes, p, end, length, &c);
    if (!without_han || c < hyb_han_edges[0] || c == UINT32_MAX) return k;
    return hyb_in_edges(hyb_han_edges, HYB_COUNT(hyb_han_edges), c) ? (unsigned)HYB_CHAR_OTHER : k;
}

/* [^\r\n\p{L}\p{N}]?U*W+S?|[^\r\n\p{L}\p{N}]?U+W*S?, U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], W =
 * [\p{Ll}\p{Lm}\p{Lo}\p{M}], S the contractions; p when there is none. U* takes all it can and gives back from its end
 * until W+ finds a first character, so what matters is the last character of the run of U that is in W too. */
static HYB_NOINLINE const uint8_t *hyb_cased_word(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                  bool suffix, bool without_han)
{
    const unsigned both = HYB_CASELESS | HYB_CHARS(MARK);
    const unsigned upper = HYB_CASED_UP | both, lower = HYB_CHARS(LL) | both;
    const uint8_t *q = p, *begin, *common = NULL, *stop;
    size_t length;
    unsigned k = hyb_cased_class(classes, p, end, &length, without_han), first = k;
    if (!hyb_in_set(HYB_LETTERS | HYB_CHARS(NUMBER) | HYB_CHARS(NEWLINE), k)) q = p + length;
    for (begin = q; q < end; q += length) {
        k = hyb_cased_class(classes, q, end, &length, without_han);
        if (!hyb_in_set(upper, k)) break;
        if (hyb_in_set(both, k)) common = q + length;
    }
    if (q < end && k == HYB_CHAR_LL) {
        for (stop = q; stop < end; stop += length)
            if (!hyb_in_set(lower, hyb_cased_class(classes, stop, end, &length, without_han))) break;
    } else if (common)
        stop = common;
    else if (begin > p && first == HYB_CHAR_MARK)
        stop = begin; /* the optional character is itself the W */
    else if (q > begin)
        stop = q;
    else
        return p;
    return suffix ? hyb_match_contraction(stop, end, true) : stop;
}

/* \p{N}{1,DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ ; without the slash where it is not said */
static HYB_NOINLINE const uint8_t *hyb_split_no_word(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                     int digits, bool slash)
{
    const uint8_t *q = hyb_char_of(classes, p, end, HYB_CHARS(NUMBER));
    size_t length;
    if (q != p) {
        while (--digits > 0) q = hyb_char_of(classes, q, end, HYB_CHARS(NUMBER));
        return q;
    }
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    if (!hyb_in_set(HYB_REST, hyb_class_at(classes, q, end, &length))) return hyb_match_lines(classes, p, end);
    q = hyb_chars_of(classes, q, end, HYB_REST);
    while (q < end && (*q == '\r' || *q == '\n' || (slash && *q == '/'))) q++;
    return q;
}

/* the words above, and what stands between words */
static HYB_NOINLINE const uint8_t *hyb_split_cased(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                   bool suffix, int digits)
{
    const uint8_t *q = hyb_cased_word(classes, p, end, suffix, false);
    return q != p ? q : hyb_split_no_word(classes, p, end, digits, true);
}

static const uint8_t *hyb_split_gpt4o(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_cased(classes, p, end, true, 3);
}
static const uint8_t *hyb_split_tekken(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_cased(classes, p, end, false, 1);
}

/* ---- splits of one kind of character: the pieces are the matches and what lies between them ---------------------- */

/* SET+ */
static HYB_NOINLINE const uint8_t *hyb_runs_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                               unsigned set)
{
    const uint8_t *q = hyb_chars_of(classes, p, end, set);
    return q != p ? q : hyb_chars_of(classes, p, end, 0xFFFu & ~set);
}

/* \p{N}+, \p{N}{1,3}, \p{N} */
static const uint8_t *hyb_split_numbers(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_runs_of(classes, p, end, HYB_CHARS(NUMBER));
}

static const uint8_t *hyb_split_number3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hyb_char_of(classes, p, end, HYB_CHARS(NUMBER));
    if (q == p) return hyb_chars_of(classes, p, end, 0xFFFu & ~HYB_CHARS(NUMBER));
    q = hyb_char_of(classes, q, end, HYB_CHARS(NUMBER));
    return hyb_char_of(classes, q, end, HYB_CHARS(NUMBER));
}

static const uint8_t *hyb_split_number1(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hyb_char_of(classes, p, end, HYB_CHARS(NUMBER));
    return q != p ? q : hyb_chars_of(classes, p, end, 0xFFFu & ~HYB_CHARS(NUMBER));
}

/* [0-9][0-9][0-9] */
HYB_INLINE bool hyb_three_digits(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';
}
static const uint8_t *hyb_split_digits3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYB_UNUSED(classes);
    if (hyb_three_digits(p, end)) return p + 3;
    while (p < end && !hyb_three_digits(p, end)) p++;
    return p;
}

/* [\r\n] */
static const uint8_t *hyb_split_line_breaks(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYB_UNUSED(classes);
    if (*p == '\r' || *p == '\n') return p + 1;
    while (p < end && *p != '\r' && *p != '\n') p++;
    return p;
}

/* What the runs below are made of. */
typedef bool (*hyb_member_fn)(unsigned char_class, uint32_t code_point);

/* \s?MEMBER+ (space) or MEMBER+ at p; p when there is none. */
static HYB_NOINLINE const uint8_t *hyb_match_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                     hyb_member_fn member, bool space)
{
    const uint8_t *begin = space ? hyb_char_of(classes, p, end, HYB_SPACES) : p, *q;
    size_t length;
    uint32_t c;
    unsigned k;
    for (;;) {
        for (q = begin; q < end; q += length) {
            k = hyb_char_at(classes, q, end, &length, &c);
            if (!member(k, c)) break;
        }
        if (q != begin) return q;
        if (begin == p) return p;
        begin = p; /* white space can be a member itself (U+3000) */
    }
}

/* The same, or all that lies before the next match. */
static HYB_NOINLINE const uint8_t *hyb_split_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                     hyb_member_fn member, bool space)
{
    const uint8_t *q = hyb_match_members(classes, p, end, member, space);
    size_t length;
    if (q != p) return q;
    do {
        hyb_class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hyb_match_members(classes, q, end, member, space) == q);
    return q;
}

static bool hyb_is_falcon_mark(unsigned k, uint32_t c) /* [\p{P}\$\+<=>\^~\|`] */
{
    return k == HYB_CHAR_PUNCTUATION || c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '~' ||
           c == '|' || c == '`';
}
static bool hyb_is_default_mark(unsigned k, uint32_t c) { return c != '`' && hyb_is_falcon_mark(k, c); }
static bool hyb_is_letter(unsigned k, uint32_t c)
{
    HYB_UNUSED(c);
    return hyb_in_set(HYB_LETTERS, k);
}
static bool hyb_is_punctuation(unsigned k, uint32_t c)
{
    HYB_UNUSED(c);
    return k == HYB_CHAR_PUNCTUATION;
}

static bool hyb_is_deepseek_letter(unsigned k, uint32_t c)
{
    size_t i;
    if (c < 0x80) return hyb_in_set(HYB_LETTERS, k);
    for (i = 0; i < HYB_COUNT(hyb_deepseek_letters) && hyb_deepseek_letters[i] <= c; i += 2)
        if (c <= hyb_deepseek_letters[i + 1]) return true;
    return false;
}
/* [!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002] */
static bool hyb_is_deepseek_mark(unsigned k, uint32_t c)
{
    HYB_UNUSED(k);
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x7E) || (c >= 0xFF01 && c <= 0xFF0F) ||
           (c >= 0xFF1A && c <= 0xFF5E) || (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002);
}
static bool hyb_is_deepseek_cjk(unsigned k, uint32_t c) /* [\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF] */
{
    HYB_UNUSED(k);
    return (c >= 0x800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
}
static bool hyb_is_deepseek3_cjk(unsigned k, uint32_t c) /* [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF] */
{
    HYB_UNUSED(k);
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

#define HYB_SPLIT_MEMBERS(name, member, space) \
    static const uint8_t *hyb_split_##name(const uint8_t *classes, const uint8_t *p, const uint8_t *end) \
    { \
        return hyb_split_members(classes, p, end, member, space); \
    }
HYB_SPLIT_MEMBERS(falcon_marks, hyb_is_falcon_mark, false)
HYB_SPLIT_MEMBERS(default_marks, hyb_is_default_mark, false)
HYB_SPLIT_MEMBERS(letters, hyb_is_letter, true)
HYB_SPLIT_MEMBERS(punctuation, hyb_is_punctuation, true)
HYB_SPLIT_MEMBERS(deepseek_letters, hyb_is_deepseek_letter, true)
HYB_SPLIT_MEMBERS(deepseek_marks, hyb_is_deepseek_mark, true)
HYB_SPLIT_MEMBERS(deepseek_cjk, hyb_is_deepseek_cjk, false)
HYB_SPLIT_MEMBERS(deepseek3_cjk, hyb_is_deepseek3_cjk, false)
#undef HYB_SPLIT_MEMBERS

/* \s+$ */
static const uint8_t *hyb_split_trailing_space(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hyb_chars_of(classes, p, end, HYB_SPACES);
    if (q == end) return end;
    do {
        p = hyb_chars_of(classes, q, end, 0xFFFu & ~HYB_SPACES);
        q = hyb_chars_of(classes, p, end, HYB_SPACES);
    } while (q != end);
    return p;
}

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * and what lies between; without lines, ... | ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+ */
static HYB_NOINLINE const uint8_t *hyb_match_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                       bool lines)
{
    const unsigned word = HYB_LETTERS | HYB_CHARS(MARK), marks = HYB_CHARS(PUNCTUATION) | HYB_CHARS(SYMBOL);
    const uint8_t *q;
    size_t length;
    unsigned k = hyb_class_at(classes, p, end, &length);
    if (*p < 0x80 && hyb_in_set(marks, k)) {
        for (q = p + 1; q < end && (uint8_t)((*q | 0x20) - 'a') < 26; q++) {}
        if (q > p + 1) return q;
    }
    if (!hyb_in_set(HYB_LETTERS | marks | HYB_CHARS(NEWLINE), k) &&
        (q = hyb_chars_of(classes, p + length, end, word)) != p + length)
        return q;
    if ((q = hyb_chars_of(classes, p, end, word)) != p) return q;
    q = *p == ' ' ? p + 1 : p;
    if (q < end && hyb_in_set(marks, hyb_class_at(classes, q, end, &length))) {
        q = hyb_chars_of(classes, q, end, marks);
        return hyb_chars_of(classes, q, end, lines ? HYB_CHARS(NEWLINE) : 0);
    }
    if (!hyb_in_set(HYB_SPACES, k)) return p;
    if (lines) return hyb_match_lines(classes, p, end);
    return k == HYB_CHAR_NEWLINE ? p + length : hyb_match_spaces(classes, p, end);
}
static HYB_NOINLINE const uint8_t *hyb_split_deepseek(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                      bool lines)
{
    const uint8_t *q = hyb_match_deepseek3(classes, p, end, lines);
    size_t length;
    if (q != p) return q;
    do {
        hyb_class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hyb_match_deepseek3(classes, q, end, lines) == q);
    return q;
}
static const uint8_t *hyb_split_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hyb_split_deepseek(classes, p, end, true);
}
#endif
