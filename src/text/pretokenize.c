/* text/pretokenize: cuts text into the words inside which BPE merges. Each model family was trained with its own regular expressions;
 * here every one is a small matcher by hand, quoted above it, and a family is a row of up to six of them, each applied inside the
 * pieces of the one before. A matcher gets p < end, the beginning and the end of a piece, and returns the end of the first word. */

typedef const uint8_t *(*hybrid__split_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end);

typedef struct hybrid__pretokenizer {
    const char      *name;
    hybrid__split_fn splits[7];       /* zero ends the list */
    bool             whole_words;     /* a word that is a token is that token, whatever the merges say ("ignore_merges") */
    bool             add_bos;
    bool             nfc;             /* Hugging Face's tokenizer puts normalization form C in front */
} hybrid__pretokenizer;

#define HYBRID__CHARS(name) (1u << HYBRID__CHAR_##name)
#define HYBRID__CASED_UP  (HYBRID__CHARS(LU) | HYBRID__CHARS(LT))
#define HYBRID__CASELESS  (HYBRID__CHARS(LM) | HYBRID__CHARS(LO))
#define HYBRID__LETTERS   (HYBRID__CASED_UP | HYBRID__CHARS(LL) | HYBRID__CASELESS)
#define HYBRID__SPACES    (HYBRID__CHARS(SPACE) | HYBRID__CHARS(NEWLINE))
#define HYBRID__REST      (0xFFFu & ~(HYBRID__LETTERS | HYBRID__CHARS(NUMBER) | HYBRID__SPACES))     /* [^\s\p{L}\p{N}] */

HYBRID__INLINE bool hybrid__in_set(unsigned set, unsigned char_class) { return (set >> char_class & 1) != 0; }

/* Whether c is in a set that is told by its edges: the first of a run, the first after it, and so on. */
static bool hybrid__in_edges(const uint32_t *edges, size_t n, uint32_t c)
{
    size_t low = 0;
    while (low < n) {
        const size_t middle = (low + n) / 2;
        if (edges[middle] <= c) low = middle + 1; else n = middle;
    }
    return low & 1;
}

/* The class of the character at p and its length. */
HYBRID__INLINE unsigned hybrid__class_at(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *length)
{
    uint32_t code_point;
    return hybrid__char_at(classes, p, end, length, &code_point);
}

/* Beyond the characters from p that are in the set. */
HYBRID__INLINE const uint8_t *hybrid__chars_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    size_t length;
    while (p < end && hybrid__in_set(set, hybrid__class_at(classes, p, end, &length))) p += length;
    return p;
}

/* Beyond one character that is in the set; p itself when it is not. */
HYBRID__INLINE const uint8_t *hybrid__char_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    size_t length;
    return p < end && hybrid__in_set(set, hybrid__class_at(classes, p, end, &length)) ? p + length : p;
}

/* 's|'t|'re|'ve|'m|'ll|'d at p; p when it is none. Without case, s is also U+017F, as Unicode folds it. */
HYBRID__INLINE const uint8_t *hybrid__match_contraction(const uint8_t *p, const uint8_t *end, bool any_case)
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

/* \s+(?!\S)|\s+ : white space from p to the end of its run, but its last character only where nothing follows or nothing else is there. */
HYBRID__INLINE const uint8_t *hybrid__match_spaces(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *last = p, *q = p;
    size_t length;
    while (q < end && hybrid__in_set(HYBRID__SPACES, hybrid__class_at(classes, q, end, &length))) { last = q; q += length; }
    return q == end || last == p ? q : last;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : as above, but first up to the last line break of the run. */
HYBRID__INLINE const uint8_t *hybrid__match_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p, *line = p;
    size_t length;
    if (HYBRID__LIKELY(end - p > 1 && p[0] == ' ' && p[1] > ' ' && p[1] < 0x7F)) return p + 1;
    while (q < end) {
        unsigned k = hybrid__class_at(classes, q, end, &length);
        if (!hybrid__in_set(HYBRID__SPACES, k)) break;
        q += length;
        if (k == HYBRID__CHAR_NEWLINE) line = q;
    }
    return line > p ? line : hybrid__match_spaces(classes, p, end);
}

/* GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const uint8_t *hybrid__split_gpt2(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    unsigned k;
    if (*p == '\'' && (q = hybrid__match_contraction(p, end, false)) != p) return q;
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    k = hybrid__class_at(classes, q, end, &length);
    if (hybrid__in_set(HYBRID__LETTERS, k)) return hybrid__chars_of(classes, q + length, end, HYBRID__LETTERS);
    if (k == HYBRID__CHAR_NUMBER) return hybrid__chars_of(classes, q + length, end, HYBRID__CHARS(NUMBER));
    if (hybrid__in_set(HYBRID__REST, k)) return hybrid__chars_of(classes, q + length, end, HYBRID__REST);
    return hybrid__match_spaces(classes, p, end);
}

#define HYBRID__NO_CONTRACTIONS 1u       /* without the first alternative */
#define HYBRID__NO_LINE_ENDS    2u       /* without [\r\n]* after what is neither letter nor number */

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?LETTERS+|\p{N}{1,DIGITS}| ?[^\s LETTERS \p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
HYBRID__INLINE const uint8_t *hybrid__split_gpt4(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                 unsigned letters, int digits, unsigned without)
{
    const unsigned rest = HYBRID__REST & ~letters;
    const uint8_t *q;
    size_t length;
    unsigned k, next;
    if (!(without & HYBRID__NO_CONTRACTIONS) && (q = hybrid__match_contraction(p, end, true)) != p) return q;
    k = hybrid__class_at(classes, p, end, &length);
    q = p + length;
    if (k == HYBRID__CHAR_NUMBER) {
        while (--digits > 0) q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
        return q;
    }
    if (hybrid__in_set(HYBRID__LETTERS, k)) return hybrid__chars_of(classes, q, end, letters);
    next = HYBRID__CHAR_SPACE;
    if (q < end) {
        next = hybrid__class_at(classes, q, end, &length);
        if (k != HYBRID__CHAR_NEWLINE && hybrid__in_set(letters, next)) return hybrid__chars_of(classes, q + length, end, letters);
    }
    if (hybrid__in_set(letters, k)) return hybrid__chars_of(classes, q, end, letters);     /* a mark, where marks are letters */
    if (*p == ' ' && hybrid__in_set(rest, next)) q += length;
    else if (!hybrid__in_set(rest, k)) return hybrid__match_lines(classes, p, end);
    q = hybrid__chars_of(classes, q, end, rest);
    return without & HYBRID__NO_LINE_ENDS ? q : hybrid__chars_of(classes, q, end, HYBRID__CHARS(NEWLINE));
}

static const uint8_t *hybrid__split_llama3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 3, 0);
}
static const uint8_t *hybrid__split_qwen2(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 1, 0);
}
static const uint8_t *hybrid__split_qwen35(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS | HYBRID__CHARS(MARK), 1, 0);
}

/* The class of the character at p; of one of the script Han, where those are no letters, that of what is in no set. */
HYBRID__INLINE unsigned hybrid__cased_class(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                            size_t *length, bool without_han)
{
    uint32_t c;
    const unsigned k = hybrid__char_at(classes, p, end, length, &c);
    if (!without_han || c < hybrid__han_edges[0] || c == UINT32_MAX) return k;
    return hybrid__in_edges(hybrid__han_edges, HYBRID__COUNT(hybrid__han_edges), c) ? (unsigned)HYBRID__CHAR_OTHER : k;
}

/* [^\r\n\p{L}\p{N}]?U*W+S?|[^\r\n\p{L}\p{N}]?U+W*S?, U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], W = [\p{Ll}\p{Lm}\p{Lo}\p{M}], S the contractions;
 * p when there is none. U* takes all it can and gives back from its end until W+ finds a first character, so what matters is the last
 * character of the run of U that is in W too. */
HYBRID__INLINE const uint8_t *hybrid__cased_word(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                 bool suffix, bool without_han)
{
    const unsigned both = HYBRID__CASELESS | HYBRID__CHARS(MARK);
    const unsigned upper = HYBRID__CASED_UP | both, lower = HYBRID__CHARS(LL) | both;
    const uint8_t *q = p, *begin, *common = NULL, *stop;
    size_t length;
    unsigned k = hybrid__cased_class(classes, p, end, &length, without_han), first = k;
    if (!hybrid__in_set(HYBRID__LETTERS | HYBRID__CHARS(NUMBER) | HYBRID__CHARS(NEWLINE), k)) q = p + length;
    for (begin = q; q < end; q += length) {
        k = hybrid__cased_class(classes, q, end, &length, without_han);
        if (!hybrid__in_set(upper, k)) break;
        if (hybrid__in_set(both, k)) common = q + length;
    }
    if (q < end && k == HYBRID__CHAR_LL) {
        for (stop = q; stop < end; stop += length)
            if (!hybrid__in_set(lower, hybrid__cased_class(classes, stop, end, &length, without_han))) break;
    }
    else if (common) stop = common;
    else if (begin > p && first == HYBRID__CHAR_MARK) stop = begin;      /* the optional character is itself the W */
    else if (q > begin) stop = q;
    else return p;
    return suffix ? hybrid__match_contraction(stop, end, true) : stop;
}

/* \p{N}{1,DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ ; without the slash where it is not said */
HYBRID__INLINE const uint8_t *hybrid__split_no_word(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                    int digits, bool slash)
{
    const uint8_t *q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER));
    size_t length;
    if (q != p) {
        while (--digits > 0) q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
        return q;
    }
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    if (!hybrid__in_set(HYBRID__REST, hybrid__class_at(classes, q, end, &length))) return hybrid__match_lines(classes, p, end);
    q = hybrid__chars_of(classes, q, end, HYBRID__REST);
    while (q < end && (*q == '\r' || *q == '\n' || (slash && *q == '/'))) q++;
    return q;
}

/* the words above, and what stands between words */
HYBRID__INLINE const uint8_t *hybrid__split_cased(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                  bool suffix, int digits)
{
    const uint8_t *q = hybrid__cased_word(classes, p, end, suffix, false);
    return q != p ? q : hybrid__split_no_word(classes, p, end, digits, true);
}

static const uint8_t *hybrid__split_gpt4o(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_cased(classes, p, end, true, 3);
}
static const uint8_t *hybrid__split_tekken(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_cased(classes, p, end, false, 1);
}

/* ---- splits of one kind of character: the pieces are the matches and what lies between them ---- */

/* SET+ */
HYBRID__INLINE const uint8_t *hybrid__runs_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    const uint8_t *q = hybrid__chars_of(classes, p, end, set);
    return q != p ? q : hybrid__chars_of(classes, p, end, 0xFFFu & ~set);
}

/* \p{N}+, \p{N}{1,3}, \p{N} */
static const uint8_t *hybrid__split_numbers(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__runs_of(classes, p, end, HYBRID__CHARS(NUMBER)); }

static const uint8_t *hybrid__split_number3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER));
    if (q == p) return hybrid__chars_of(classes, p, end, 0xFFFu & ~HYBRID__CHARS(NUMBER));
    q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
    return hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
}

static const uint8_t *hybrid__split_number1(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER));
    return q != p ? q : hybrid__chars_of(classes, p, end, 0xFFFu & ~HYBRID__CHARS(NUMBER));
}

/* [0-9][0-9][0-9] */
HYBRID__INLINE bool hybrid__three_digits(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';
}
static const uint8_t *hybrid__split_digits3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYBRID__UNUSED(classes);
    if (hybrid__three_digits(p, end)) return p + 3;
    while (p < end && !hybrid__three_digits(p, end)) p++;
    return p;
}

/* [\r\n] */
static const uint8_t *hybrid__split_line_breaks(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYBRID__UNUSED(classes);
    if (*p == '\r' || *p == '\n') return p + 1;
    while (p < end && *p != '\r' && *p != '\n') p++;
    return p;
}

/* What the runs below are made of. */
typedef bool (*hybrid__member_fn)(unsigned char_class, uint32_t code_point);

/* \s?MEMBER+ (space) or MEMBER+ at p; p when there is none. */
HYBRID__INLINE const uint8_t *hybrid__match_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end, hybrid__member_fn member, bool space)
{
    const uint8_t *begin = space ? hybrid__char_of(classes, p, end, HYBRID__SPACES) : p, *q;
    size_t length;
    uint32_t c;
    unsigned k;
    for (;;) {
        for (q = begin; q < end; q += length) {
            k = hybrid__char_at(classes, q, end, &length, &c);
            if (!member(k, c)) break;
        }
        if (q != begin) return q;
        if (begin == p) return p;
        begin = p;                                       /* white space can be a member itself (U+3000) */
    }
}

/* The same, or all that lies before the next match. */
HYBRID__INLINE const uint8_t *hybrid__split_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end, hybrid__member_fn member, bool space)
{
    const uint8_t *q = hybrid__match_members(classes, p, end, member, space);
    size_t length;
    if (q != p) return q;
    do {
        hybrid__class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hybrid__match_members(classes, q, end, member, space) == q);
    return q;
}

static bool hybrid__is_falcon_mark(unsigned k, uint32_t c)        /* [\p{P}\$\+<=>\^~\|`] */
{
    return k == HYBRID__CHAR_PUNCTUATION || c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '~' || c == '|' || c == '`';
}
static bool hybrid__is_default_mark(unsigned k, uint32_t c) { return c != '`' && hybrid__is_falcon_mark(k, c); }
static bool hybrid__is_letter(unsigned k, uint32_t c) { HYBRID__UNUSED(c); return hybrid__in_set(HYBRID__LETTERS, k); }
static bool hybrid__is_punctuation(unsigned k, uint32_t c) { HYBRID__UNUSED(c); return k == HYBRID__CHAR_PUNCTUATION; }

static bool hybrid__is_deepseek_letter(unsigned k, uint32_t c)
{
    size_t i;
    if (c < 0x80) return hybrid__in_set(HYBRID__LETTERS, k);
    for (i = 0; i < HYBRID__COUNT(hybrid__deepseek_letters) && hybrid__deepseek_letters[i] <= c; i += 2)
        if (c <= hybrid__deepseek_letters[i + 1]) return true;
    return false;
}
static bool hybrid__is_deepseek_mark(unsigned k, uint32_t c)      /* [!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x7E) || (c >= 0xFF01 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF5E) ||
           (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002);
}
static bool hybrid__is_deepseek_cjk(unsigned k, uint32_t c)       /* [\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
}
static bool hybrid__is_deepseek3_cjk(unsigned k, uint32_t c)      /* [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

#define HYBRID__SPLIT_MEMBERS(name, member, space)                                                                        \
    static const uint8_t *hybrid__split_##name(const uint8_t *classes, const uint8_t *p, const uint8_t *end)               \
    {                                                                                                                      \
        return hybrid__split_members(classes, p, end, member, space);                                                      \
    }
HYBRID__SPLIT_MEMBERS(falcon_marks, hybrid__is_falcon_mark, false)
HYBRID__SPLIT_MEMBERS(default_marks, hybrid__is_default_mark, false)
HYBRID__SPLIT_MEMBERS(letters, hybrid__is_letter, true)
HYBRID__SPLIT_MEMBERS(punctuation, hybrid__is_punctuation, true)
HYBRID__SPLIT_MEMBERS(deepseek_letters, hybrid__is_deepseek_letter, true)
HYBRID__SPLIT_MEMBERS(deepseek_marks, hybrid__is_deepseek_mark, true)
HYBRID__SPLIT_MEMBERS(deepseek_cjk, hybrid__is_deepseek_cjk, false)
HYBRID__SPLIT_MEMBERS(deepseek3_cjk, hybrid__is_deepseek3_cjk, false)
#undef HYBRID__SPLIT_MEMBERS

/* \s+$ */
static const uint8_t *hybrid__split_trailing_space(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__chars_of(classes, p, end, HYBRID__SPACES);
    if (q == end) return end;
    do {
        p = hybrid__chars_of(classes, q, end, 0xFFFu & ~HYBRID__SPACES);
        q = hybrid__chars_of(classes, p, end, HYBRID__SPACES);
    } while (q != end);
    return p;
}

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * and what lies between; without lines, ... | ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+ */
HYBRID__INLINE const uint8_t *hybrid__match_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                      bool lines)
{
    const unsigned word = HYBRID__LETTERS | HYBRID__CHARS(MARK), marks = HYBRID__CHARS(PUNCTUATION) | HYBRID__CHARS(SYMBOL);
    const uint8_t *q;
    size_t length;
    unsigned k = hybrid__class_at(classes, p, end, &length);
    if (*p < 0x80 && hybrid__in_set(marks, k)) {
        for (q = p + 1; q < end && (uint8_t)((*q | 0x20) - 'a') < 26; q++) {}
        if (q > p + 1) return q;
    }
    if (!hybrid__in_set(HYBRID__LETTERS | marks | HYBRID__CHARS(NEWLINE), k) && (q = hybrid__chars_of(classes, p + length, end, word)) != p + length) return q;
    if ((q = hybrid__chars_of(classes, p, end, word)) != p) return q;
    q = *p == ' ' ? p + 1 : p;
    if (q < end && hybrid__in_set(marks, hybrid__class_at(classes, q, end, &length))) {
        q = hybrid__chars_of(classes, q, end, marks);
        return hybrid__chars_of(classes, q, end, lines ? HYBRID__CHARS(NEWLINE) : 0);
    }
    if (!hybrid__in_set(HYBRID__SPACES, k)) return p;
    if (lines) return hybrid__match_lines(classes, p, end);
    return k == HYBRID__CHAR_NEWLINE ? p + length : hybrid__match_spaces(classes, p, end);
}
HYBRID__INLINE const uint8_t *hybrid__split_deepseek(const uint8_t *classes, const uint8_t *p, const uint8_t *end,
                                                     bool lines)
{
    const uint8_t *q = hybrid__match_deepseek3(classes, p, end, lines);
    size_t length;
    if (q != p) return q;
    do {
        hybrid__class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hybrid__match_deepseek3(classes, q, end, lines) == q);
    return q;
}
static const uint8_t *hybrid__split_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    return hybrid__split_deepseek(classes, p, end, true);
}
