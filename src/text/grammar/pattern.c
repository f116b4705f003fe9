/* text/grammar/pattern: regular expressions of ECMAScript, as JSON Schema uses them, into sets of texts. What no
 * automaton can do (back references) or this one does not (looking around, properties of Unicode) is refused by name.
 * Groups in each other stand on a stack of their own: nothing recurses. */
#ifndef HYB_TEXT_GRAMMAR_PATTERN_C
#define HYB_TEXT_GRAMMAR_PATTERN_C
#include "dfa.c"
#include "gbnf.c"

enum { HYB_PATTERN_MAX_DEPTH = 64, HYB_PATTERN_MAX_RANGES = 1024 };

typedef struct hyb_pattern {
    hyb_draft draft;
    const char *text, *p, *stop;
    hyb_gbnf_group group[HYB_PATTERN_MAX_DEPTH];
    uint32_t depth;
    uint32_t ranges[HYB_PATTERN_MAX_RANGES][2];
    size_t n_ranges;
    hyb_draft_mark mark; /* of the last item, which a repetition is for */
    hyb_fragment item;
    bool repeatable;
} hyb_pattern;

static void hyb_pattern_fail(hyb_pattern *g, const char *what)
{
    if (g->draft.failed) return;
    g->draft.failed = hyb_fail_at(g->draft.error, HYBRID_ERROR_UNSUPPORTED, (uint64_t)(g->p - g->text), "%s", what);
}

static bool hyb_pattern_is(const hyb_pattern *g, const char *what)
{
    const size_t n = strlen(what);
    return (size_t)(g->stop - g->p) >= n && !memcmp(g->p, what, n);
}

/* ---- characters ---- */

static void hyb_pattern_range(hyb_pattern *g, uint32_t low, uint32_t high)
{
    if (g->n_ranges == HYB_PATTERN_MAX_RANGES) {
        hyb_pattern_fail(g, "a class of characters has more than 1024 ranges");
        return;
    }
    g->ranges[g->n_ranges][0] = low;
    g->ranges[g->n_ranges++][1] = high;
}

/* The ranges of \d \w \s, or of . (line ends, which it leaves out), or of what they are not. */
static void hyb_pattern_named(hyb_pattern *g, char name, bool others)
{
    static const uint32_t digit[][2] = { { '0', '9' } };
    static const uint32_t word[][2] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } };
    static const uint32_t line[][2] = { { '\n', '\n' }, { '\r', '\r' }, { 0x2028, 0x2029 } };
    static const uint32_t space[][2] = { { 9, 13 },          { ' ', ' ' },       { 0xA0, 0xA0 },     { 0x1680, 0x1680 },
                                         { 0x2000, 0x200A }, { 0x2028, 0x2029 }, { 0x202F, 0x202F }, { 0x205F, 0x205F },
                                         { 0x3000, 0x3000 }, { 0xFEFF, 0xFEFF } };
    const uint32_t(*list)[2] = name == 'd' ? digit : name == 'w' ? word : name == 's' ? space : line;
    const size_t n = name == 'd'   ? HYB_COUNT(digit)
                     : name == 'w' ? HYB_COUNT(word)
                     : name == 's' ? HYB_COUNT(space)
                                   : HYB_COUNT(line);
    uint32_t low = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        if (!others)
            hyb_pattern_range(g, list[i][0], list[i][1]);
        else if (list[i][0] > low)
            hyb_pattern_range(g, low, list[i][0] - 1);
        low = list[i][1] + 1;
    }
    if (others) hyb_pattern_range(g, low, HYB_CHAR_LAST);
}

static uint32_t hyb_pattern_hex(hyb_pattern *g, int digits)
{
    uint32_t code;
    if (hyb_read_hex(&g->p, g->stop, digits, &code)) return code;
    hyb_pattern_fail(g, "an escape has too few hexadecimal digits: \\x takes 2, \\u 4");
    return 0;
}

/* After \u: four digits, two such that are a pair of surrogates, or any number in braces. */
static uint32_t hyb_pattern_unicode(hyb_pattern *g)
{
    uint32_t code, low;
    if (hyb_pattern_is(g, "{")) {
        const char *close = (const char *)memchr(g->p, '}', (size_t)(g->stop - g->p));
        g->p++;
        code = close && close - g->p <= 6 ? hyb_pattern_hex(g, (int)(close - g->p)) : HYB_CHAR_LAST + 1;
        if (code > HYB_CHAR_LAST) hyb_pattern_fail(g, "\\u{...} names no character");
        if (!g->draft.failed) g->p++;
        return code;
    }
    code = hyb_pattern_hex(g, 4);
    if (code - 0xD800 < 0x400 && hyb_pattern_is(g, "\\u") && g->stop - g->p >= 6 && (g->p[2] | 32) == 'd') {
        g->p += 2;
        low = hyb_pattern_hex(g, 4);
        if (low - 0xDC00 < 0x400) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        hyb_pattern_fail(g, "half a pair of surrogates is no character");
    }
    return code;
}

/* One character, or (false) a class, whose ranges were added; inside of [...] or not. */
static bool hyb_pattern_char(hyb_pattern *g, bool in_class, uint32_t *code)
{
    static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v";
    const char *found;
    size_t n;
    char c;
    if (!hyb_pattern_is(g, "\\")) {
        if (!(n = hyb_utf8_read(g->p, g->stop, code))) hyb_pattern_fail(g, "it ends too early");
        g->p += n;
        return true;
    }
    if (++g->p == g->stop) {
        hyb_pattern_fail(g, "it ends in an escape");
        return true;
    }
    c = *g->p++;
    if (c == 'd' || c == 'w' || c == 's' || c == 'D' || c == 'W' || c == 'S') {
        hyb_pattern_named(g, (char)(c | 32), c < 'a');
        return false;
    }
    *code = (uint32_t)(uint8_t)c;
    if (c == '0' && g->p < g->stop && hyb_is_digit(*g->p))
        hyb_pattern_fail(g, "an octal escape");
    else if (c && (found = strchr(from, c)) != NULL)
        *code = (uint32_t)(uint8_t)to[found - from];
    else if (c == 'x')
        *code = hyb_pattern_hex(g, 2);
    else if (c == 'u')
        *code = hyb_pattern_unicode(g);
    else if (c == 'b' && in_class)
        *code = '\b';
    else if (c == 'c' && g->p < g->stop && (*g->p | 32) >= 'a' && (*g->p | 32) <= 'z')
        *code = (uint32_t)*g->p++ & 31;
    else if (hyb_is_digit(c) || c == 'k')
        hyb_pattern_fail(g, "a back reference, which no automaton can follow");
    else if (c == 'b' || c == 'B')
        hyb_pattern_fail(g, "\\b and \\B (borders of words)");
    else if (c == 'p' || c == 'P')
        hyb_pattern_fail(g, "\\p{...} (properties of Unicode)");
    else if ((c | 32) >= 'a' && (c | 32) <= 'z')
        hyb_pattern_fail(g, "an escape that ECMAScript does not have");
    else if ((uint8_t)c >= 0x80) { /* an escaped character beyond ASCII stands for itself */
        g->p--;
        if (!(n = hyb_utf8_read(g->p, g->stop, code))) hyb_pattern_fail(g, "it ends too early");
        g->p += n;
    }
    return true;
}

/* ---- items ---- */

static void hyb_pattern_class(hyb_pattern *g)
{
    bool others;
    g->p++;
    if ((others = hyb_pattern_is(g, "^")) == true) g->p++;
    g->n_ranges = 0;
    while (!g->draft.failed && !hyb_pattern_is(g, "]")) {
        uint32_t low = 0, high = 0;
        const bool one = hyb_pattern_char(g, true, &low);
        high = low;
        if (hyb_pattern_is(g, "-") && g->p + 1 < g->stop && g->p[1] != ']') {
            g->p++;
            if (!one || !hyb_pattern_char(g, true, &high))
                hyb_pattern_fail(g, "a range in [...] begins or ends with a class");
            else if (high < low)
                hyb_pattern_fail(g, "a range in [...] ends before it begins");
        }
        if (one) hyb_pattern_range(g, low, high);
    }
    if (g->draft.failed) return;
    g->p++;
    hyb_draft_class(&g->draft, g->item, g->ranges, g->n_ranges, others);
}

/* An item follows what was read of the innermost group. What it leads to is joined when it is known that no repetition
 * follows. */
static void hyb_pattern_item(hyb_pattern *g)
{
    uint32_t code = 0;
    g->mark = hyb_draft_here(&g->draft);
    g->item.start = hyb_draft_positions(&g->draft, 2);
    g->item.end = g->item.start + 1;
    g->repeatable = true;
    g->n_ranges = 0;
    if (hyb_pattern_is(g, "^") || hyb_pattern_is(g, "$")) {
        hyb_draft_edge(&g->draft, g->item.start, *g->p == '^' ? HYB_EDGE_BEGIN : HYB_EDGE_END, 0, 0, g->item.end);
        g->p++;
    } else if (hyb_pattern_is(g, "["))
        hyb_pattern_class(g);
    else {
        if (hyb_pattern_is(g, ".")) {
            g->p++;
            hyb_pattern_named(g, '.', true);
        } else if (hyb_pattern_char(g, false, &code))
            hyb_pattern_range(g, code, code);
        hyb_draft_class(&g->draft, g->item, g->ranges, g->n_ranges, false);
    }
}

static void hyb_pattern_open(hyb_pattern *g)
{
    hyb_gbnf_group *group = &g->group[g->depth];
    if (g->depth == HYB_PATTERN_MAX_DEPTH) {
        hyb_pattern_fail(g, "more than 64 groups in each other");
        return;
    }
    g->depth++;
    group->mark = hyb_draft_here(&g->draft);
    group->start = group->at = hyb_draft_positions(&g->draft, 2);
    group->end = group->start + 1;
    g->repeatable = false;
}

/* ( or (?: or (?<name> */
static void hyb_pattern_bracket(hyb_pattern *g)
{
    hyb_pattern_open(g);
    g->p++;
    if (!hyb_pattern_is(g, "?")) return;
    if (hyb_pattern_is(g, "?:"))
        g->p += 2;
    else if (hyb_pattern_is(g, "?<") && !hyb_pattern_is(g, "?<=") && !hyb_pattern_is(g, "?<!")) {
        while (g->p < g->stop && *g->p != '>') g->p++;
        if (g->p == g->stop)
            hyb_pattern_fail(g, "the name of a group is not closed");
        else
            g->p++;
    } else
        hyb_pattern_fail(g, "looking around, (?=...) and its like");
}

static void hyb_pattern_join(hyb_pattern *g)
{
    hyb_gbnf_group *group = &g->group[g->depth - 1];
    if (!g->repeatable || g->draft.failed) return;
    hyb_draft_empty(&g->draft, group->at, g->item.start);
    group->at = g->item.end;
    g->repeatable = false;
}

static void hyb_pattern_close(hyb_pattern *g)
{
    const hyb_gbnf_group group = g->group[--g->depth];
    hyb_draft_empty(&g->draft, group.at, group.end);
    g->mark = group.mark;
    g->item.start = group.start;
    g->item.end = group.end;
    g->repeatable = true;
}

static bool hyb_pattern_number(hyb_pattern *g, uint32_t *n)
{
    const char *digits = g->p;
    for (*n = 0; g->p < g->stop && hyb_is_digit(*g->p); g->p++)
        *n = HYB_MIN(*n * 10 + (uint32_t)(*g->p - '0'), HYB_DRAFT_MAX_POSITIONS);
    return g->p > digits;
}

/* * + ? {m} {m,} {m,n}, and a ? after them, which changes nothing here. */
static void hyb_pattern_repeat(hyb_pattern *g)
{
    const char c = *g->p++;
    uint32_t least = c == '+', most = c == '?' ? 1 : HYB_DRAFT_NONE;
    if (!g->repeatable) hyb_pattern_fail(g, "a repetition needs something before it");
    if (c == '{') {
        bool fine = hyb_pattern_number(g, &least);
        most = least;
        if (fine && hyb_pattern_is(g, ",")) {
            g->p++;
            if (!hyb_pattern_number(g, &most)) most = HYB_DRAFT_NONE;
        }
        if (!fine || !hyb_pattern_is(g, "}") || most < least)
            hyb_pattern_fail(g, "a brace that is no repetition, as {2,5} is");
        else
            g->p++;
    }
    if (g->draft.failed) return;
    if (hyb_pattern_is(g, "?")) g->p++;
    g->item = hyb_draft_repeat(&g->draft, g->mark, g->item, least, most);
}

static void hyb_pattern_or(hyb_pattern *g)
{
    hyb_gbnf_group *group = &g->group[g->depth - 1];
    hyb_draft_empty(&g->draft, group->at, group->end);
    group->at = hyb_draft_positions(&g->draft, 1);
    hyb_draft_empty(&g->draft, group->start, group->at);
    g->p++;
}

static void hyb_pattern_read(hyb_pattern *g)
{
    hyb_pattern_open(g);
    while (!g->draft.failed && g->p < g->stop) {
        const char c = *g->p;
        if (c == '*' || c == '+' || c == '?' || c == '{') {
            hyb_pattern_repeat(g);
            continue;
        }
        hyb_pattern_join(g);
        if (c == '|')
            hyb_pattern_or(g);
        else if (c == '(')
            hyb_pattern_bracket(g);
        else if (c == ')' && g->depth > 1) {
            hyb_pattern_close(g);
            g->p++;
        } else if (c == ')')
            hyb_pattern_fail(g, "a bracket closes nothing");
        else
            hyb_pattern_item(g);
    }
    if (!g->draft.failed && g->depth > 1) hyb_pattern_fail(g, "a group is not closed");
    if (g->draft.failed) return;
    hyb_pattern_join(g);
    hyb_pattern_close(g);
}

/* The texts in which the pattern is found. UNSUPPORTED: the sentence says what is in it that cannot be. */
static hybrid_result hyb_pattern_texts(hybrid_runtime *rt, const char *text, size_t size, hyb_dfa *out,
                                       hybrid_error *error)
{
    hyb_pattern *g = (hyb_pattern *)hyb_calloc(rt, 1, sizeof *g);
    uint32_t start, before, after;
    hybrid_result r;
    memset(out, 0, sizeof *out);
    if (!g) return hyb_fail_memory(error, sizeof *g);
    hyb_draft_begin(&g->draft, rt, error);
    g->text = g->p = text;
    g->stop = text + size;
    start = hyb_draft_positions(&g->draft, 3);
    before = start + 1;
    after = start + 2;
    hyb_pattern_read(g);
    hyb_draft_empty(&g->draft, start, before);
    hyb_draft_edge(&g->draft, before, HYB_EDGE_CHARS, 0, HYB_CHAR_LAST, before);
    hyb_draft_empty(&g->draft, before, g->item.start);
    hyb_draft_empty(&g->draft, g->item.end, after);
    hyb_draft_edge(&g->draft, after, HYB_EDGE_CHARS, 0, HYB_CHAR_LAST, after);
    r = hyb_dfa_of(&g->draft, start, after, out, error);
    hyb_draft_free(&g->draft);
    hyb_free(rt, g);
    return r;
}
#endif
