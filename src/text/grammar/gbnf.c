/* text/grammar/gbnf: reads GBNF, the notation of llama.cpp, into a network. Groups in each other stand on a stack of
 * their own: nothing recurses. */
#ifndef HYB_TEXT_GRAMMAR_GBNF_C
#define HYB_TEXT_GRAMMAR_GBNF_C
#include "draft.c"

enum { HYB_GBNF_MAX_DEPTH = 256, HYB_GBNF_MAX_CLASS = 1024 };

typedef struct hyb_gbnf_name {
    const char *text;
    uint32_t size, line; /* line: where it was used first */
} hyb_gbnf_name;

/* A rule or a group that is being read: its texts lead from start to end, `at` is where the one being read is. */
typedef struct hyb_gbnf_group {
    hyb_draft_mark mark;
    uint32_t start, end, at;
} hyb_gbnf_group;

typedef struct hyb_gbnf {
    hyb_draft *draft;
    const char *text, *p, *stop;
    uint32_t line;
    hyb_gbnf_name *names; /* of the rules of the network */
    size_t name_capacity;
    uint32_t *slots; /* hash table of rule + 1 */
    size_t n_slots;
    hyb_gbnf_group *group; /* (HYB_GBNF_MAX_DEPTH) */
    uint32_t depth;
    uint32_t (*ranges)[2]; /* (HYB_GBNF_MAX_CLASS) of the class being read */
    hyb_draft_mark mark;   /* of the last item, which a repetition is for */
    hyb_fragment item;
    bool repeatable;
} hyb_gbnf;

static void hyb_gbnf_fail(hyb_gbnf *g, const char *what)
{
    if (g->draft->failed) return;
    g->draft->failed = hyb_fail_at(g->draft->error, HYBRID_ERROR_FORMAT, (uint64_t)(g->p - g->text),
                                   "GBNF, line %u: %s", g->line, what);
}

/* Blanks and comments; line breaks too, where a rule can go on after them. */
static void hyb_gbnf_space(hyb_gbnf *g, bool lines)
{
    for (; g->p < g->stop; g->p++) {
        if (*g->p == '#')
            while (g->p + 1 < g->stop && g->p[1] != '\n') g->p++;
        else if (*g->p == '\n' && lines)
            g->line++;
        else if (*g->p != ' ' && *g->p != '\t' && *g->p != '\r')
            return;
    }
}

static bool hyb_gbnf_is(const hyb_gbnf *g, char c) { return g->p < g->stop && *g->p == c; }

static bool hyb_gbnf_in_name(char c)
{
    return hyb_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* ---- names ---- */

static hybrid_result hyb_gbnf_rehash(hyb_gbnf *g, size_t n)
{
    uint32_t *slots = (uint32_t *)hyb_calloc(g->draft->rt, n, sizeof *slots);
    size_t i, at;
    if (!slots) return g->draft->failed = hyb_fail_memory(g->draft->error, n * sizeof *slots);
    for (i = 0; i < g->draft->n_rules; i++) {
        at = (size_t)hyb_hash(&g->draft->rt->hash_key, g->names[i].text, g->names[i].size) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    hyb_free(g->draft->rt, g->slots);
    g->slots = slots;
    g->n_slots = n;
    return HYBRID_OK;
}

/* The rule of this name, which need not be defined yet. */
static uint32_t hyb_gbnf_rule(hyb_gbnf *g, const char *text, size_t size)
{
    hyb_draft *draft = g->draft;
    const size_t n = draft->n_rules;
    size_t at;
    if (draft->failed || (g->n_slots <= 2 * n && hyb_gbnf_rehash(g, HYB_MAX(64, 4 * g->n_slots)))) return 0;
    at = (size_t)hyb_hash(&draft->rt->hash_key, text, size) & (g->n_slots - 1);
    for (; g->slots[at]; at = (at + 1) & (g->n_slots - 1)) {
        const hyb_gbnf_name *name = &g->names[g->slots[at] - 1];
        if (name->size == size && !memcmp(name->text, text, size)) return g->slots[at] - 1;
    }
    if ((draft->failed = HYB_GROW(draft->rt, draft->rules, draft->rule_capacity, n, n + 1, draft->error)) !=
            HYBRID_OK ||
        (draft->failed = HYB_GROW(draft->rt, g->names, g->name_capacity, n, n + 1, draft->error)) != HYBRID_OK)
        return 0;
    g->slots[at] = (uint32_t)n + 1;
    g->names[n].text = text;
    g->names[n].size = (uint32_t)size;
    g->names[n].line = g->line;
    draft->rules[n].start = draft->rules[n].end = HYB_DRAFT_NONE;
    draft->n_rules++;
    return (uint32_t)n;
}

/* ---- characters ---- */

/* The value of so many hexadecimal digits at *p, which moves behind them. False: *p is where one is missing. */
static bool hyb_read_hex(const char **p, const char *stop, int digits, uint32_t *code)
{
    for (*code = 0; digits--; ++*p) {
        const char c = *p < stop ? **p : 0;
        if (hyb_is_digit(c))
            *code = *code << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            *code = *code << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else
            return false;
    }
    return true;
}

static uint32_t hyb_gbnf_hex(hyb_gbnf *g, int digits)
{
    uint32_t code;
    if (!hyb_read_hex(&g->p, g->stop, digits, &code)) {
        hyb_gbnf_fail(g, "an escape has too few hexadecimal digits: \\x takes 2, \\u 4, \\U 8");
        return 0;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        hyb_gbnf_fail(g, "an escape names no character of Unicode");
    return code;
}

static uint32_t hyb_gbnf_char(hyb_gbnf *g)
{
    static const char from[] = "nrt\\\"[]", to[] = "\n\r\t\\\"[]";
    const char *found;
    uint32_t code = 0;
    size_t n;
    if (!hyb_gbnf_is(g, '\\')) {
        if (!(n = hyb_utf8_read(g->p, g->stop, &code))) hyb_gbnf_fail(g, "the text ends, or is not UTF-8");
        if (hyb_gbnf_is(g, '\n')) g->line++;
        g->p += n;
        return code;
    }
    if (++g->p == g->stop) {
        hyb_gbnf_fail(g, "the text ends in an escape");
        return 0;
    }
    if (*g->p && (found = strchr(from, *g->p)) != NULL) {
        g->p++;
        return (uint32_t)(uint8_t)to[found - from];
    }
    switch (*g->p++) {
    case 'x': return hyb_gbnf_hex(g, 2);
    case 'u': return hyb_gbnf_hex(g, 4);
    case 'U': return hyb_gbnf_hex(g, 8);
    default:
        g->p--;
        hyb_gbnf_fail(g, "no such escape: there are \\n \\r \\t \\\\ \\\" \\[ \\] \\x \\u \\U");
        return 0;
    }
}

/* ---- items ---- */

static int hyb_range_order(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Edges for the ranges of a class, or for what is between them. */
static void hyb_draft_class(hyb_draft *draft, hyb_fragment piece, uint32_t (*ranges)[2], size_t n, bool others)
{
    uint32_t low = 0;
    size_t i;
    if (n > 1) qsort(ranges, n, sizeof *ranges, hyb_range_order);
    for (i = 0; i < n; i++) {
        if (!others && ranges[i][1] >= low)
            hyb_draft_edge(draft, piece.start, HYB_EDGE_CHARS, HYB_MAX(low, ranges[i][0]), ranges[i][1], piece.end);
        if (others && ranges[i][0] > low)
            hyb_draft_edge(draft, piece.start, HYB_EDGE_CHARS, low, ranges[i][0] - 1, piece.end);
        low = HYB_MAX(low, ranges[i][1] + 1);
    }
    if (others && low <= 0x10FFFF) hyb_draft_edge(draft, piece.start, HYB_EDGE_CHARS, low, 0x10FFFF, piece.end);
}

static void hyb_gbnf_class(hyb_gbnf *g)
{
    bool others;
    size_t n = 0;
    g->p++;
    others = hyb_gbnf_is(g, '^');
    if (others) g->p++;
    while (!g->draft->failed && !hyb_gbnf_is(g, ']')) {
        if (n == HYB_GBNF_MAX_CLASS) {
            hyb_gbnf_fail(g, "a class of characters has more than 1024 ranges");
            return;
        }
        g->ranges[n][0] = g->ranges[n][1] = hyb_gbnf_char(g);
        if (hyb_gbnf_is(g, '-') && g->p + 1 < g->stop && g->p[1] != ']') {
            g->p++;
            g->ranges[n][1] = hyb_gbnf_char(g);
        }
        if (g->ranges[n][1] < g->ranges[n][0]) hyb_gbnf_fail(g, "a range of characters ends before it begins");
        n++;
    }
    if (g->draft->failed) return;
    g->p++;
    hyb_draft_class(g->draft, g->item, g->ranges, n, others);
}

static void hyb_gbnf_literal(hyb_gbnf *g)
{
    uint32_t at = g->item.start;
    for (g->p++; !g->draft->failed && !hyb_gbnf_is(g, '"');) {
        const uint32_t code = hyb_gbnf_char(g);
        at = hyb_draft_then(g->draft, at, HYB_EDGE_CHARS, code, code);
    }
    if (g->draft->failed) return;
    g->p++;
    hyb_draft_empty(g->draft, at, g->item.end);
}

static void hyb_gbnf_call(hyb_gbnf *g)
{
    const char *name = g->p;
    uint32_t rule;
    while (g->p < g->stop && hyb_gbnf_in_name(*g->p)) g->p++;
    rule = hyb_gbnf_rule(g, name, (size_t)(g->p - name));
    hyb_draft_edge(g->draft, g->item.start, HYB_EDGE_CALL, rule, 0, g->item.end);
}

static void hyb_gbnf_open(hyb_gbnf *g, hyb_draft_mark mark)
{
    hyb_gbnf_group *group;
    if (g->depth == HYB_GBNF_MAX_DEPTH) {
        hyb_gbnf_fail(g, "more than 256 groups in each other");
        return;
    }
    group = &g->group[g->depth++];
    group->mark = mark;
    group->start = group->at = hyb_draft_positions(g->draft, 2);
    group->end = group->start + 1;
    g->repeatable = false;
}

/* An item follows what was read of the innermost group. What it leads to is joined when it is known that no repetition
 * follows: see hyb_gbnf_join. */
static void hyb_gbnf_item(hyb_gbnf *g)
{
    g->mark = hyb_draft_here(g->draft);
    g->item.start = hyb_draft_positions(g->draft, 2);
    g->item.end = g->item.start + 1;
    g->repeatable = true;
    if (*g->p == '"')
        hyb_gbnf_literal(g);
    else if (*g->p == '[')
        hyb_gbnf_class(g);
    else if (*g->p == '.') {
        g->p++;
        hyb_draft_edge(g->draft, g->item.start, HYB_EDGE_CHARS, 0, 0x10FFFF, g->item.end);
    } else
        hyb_gbnf_call(g);
}

/* The last item, with its repetitions, goes after what was read before it. */
static void hyb_gbnf_join(hyb_gbnf *g)
{
    hyb_gbnf_group *group = &g->group[g->depth - 1];
    if (!g->repeatable || g->draft->failed) return;
    hyb_draft_empty(g->draft, group->at, g->item.start);
    group->at = g->item.end;
    g->repeatable = false;
}

static uint32_t hyb_gbnf_number(hyb_gbnf *g)
{
    uint32_t n = 0;
    const char *digits = g->p;
    for (; g->p < g->stop && hyb_is_digit(*g->p); g->p++)
        if ((n = n * 10 + (uint32_t)(*g->p - '0')) > HYB_DRAFT_MAX_POSITIONS) {
            hyb_draft_too_large(g->draft);
            return 0;
        }
    if (g->p == digits) hyb_gbnf_fail(g, "a number is expected here, as in {2,5}");
    return n;
}

static void hyb_gbnf_repeat(hyb_gbnf *g)
{
    const char c = *g->p++;
    uint32_t least = c == '+', most = c == '?' ? 1 : HYB_DRAFT_NONE;
    if (!g->repeatable) {
        g->p--;
        hyb_gbnf_fail(g, "a repetition needs something before it");
        return;
    }
    if (c == '{') {
        hyb_gbnf_space(g, false);
        least = most = hyb_gbnf_number(g);
        hyb_gbnf_space(g, false);
        if (hyb_gbnf_is(g, ',')) {
            g->p++;
            hyb_gbnf_space(g, false);
            most = hyb_gbnf_is(g, '}') ? HYB_DRAFT_NONE : hyb_gbnf_number(g);
            hyb_gbnf_space(g, false);
        }
        if (!hyb_gbnf_is(g, '}')) hyb_gbnf_fail(g, "a repetition ends with }, as in {2,5}");
        if (most < least) hyb_gbnf_fail(g, "a repetition has more times at least than at most");
        if (g->draft->failed) return;
        g->p++;
    }
    g->item = hyb_draft_repeat(g->draft, g->mark, g->item, least, most);
}

/* The innermost group ends: it is an item of the one around it. */
static void hyb_gbnf_close(hyb_gbnf *g)
{
    const hyb_gbnf_group group = g->group[--g->depth];
    hyb_draft_empty(g->draft, group.at, group.end);
    g->mark = group.mark;
    g->item.start = group.start;
    g->item.end = group.end;
    g->repeatable = true;
}

/* What a rule is, after the ::=; to the end of its line, which may be later where something is open. */
static void hyb_gbnf_body(hyb_gbnf *g)
{
    hyb_gbnf_open(g, hyb_draft_here(g->draft));
    hyb_gbnf_space(g, true);
    while (!g->draft->failed && g->p < g->stop && (*g->p != '\n' || g->depth > 1)) {
        const char c = *g->p;
        if (c == '*' || c == '+' || c == '?' || c == '{') {
            hyb_gbnf_repeat(g);
            hyb_gbnf_space(g, g->depth > 1);
            continue;
        }
        hyb_gbnf_join(g);
        if (c == '|') {
            hyb_gbnf_group *group = &g->group[g->depth - 1];
            hyb_draft_empty(g->draft, group->at, group->end);
            group->at = hyb_draft_positions(g->draft, 1);
            hyb_draft_empty(g->draft, group->start, group->at);
            g->p++;
            hyb_gbnf_space(g, true);
            continue;
        }
        if (c == '(') {
            hyb_gbnf_open(g, hyb_draft_here(g->draft));
            g->p++;
        } else if (c == ')' && g->depth > 1) {
            hyb_gbnf_close(g);
            g->p++;
        } else if (c == '"' || c == '[' || c == '.' || hyb_gbnf_in_name(c))
            hyb_gbnf_item(g);
        else
            hyb_gbnf_fail(g, "a text in quotes, a class, a name or a group is expected here, or the end of the line");
        hyb_gbnf_space(g, g->depth > 1);
    }
    if (g->draft->failed) return;
    if (g->depth > 1) hyb_gbnf_fail(g, "a group is not closed");
    hyb_gbnf_join(g);
    if (!g->draft->failed) hyb_gbnf_close(g);
}

static void hyb_gbnf_read_rule(hyb_gbnf *g)
{
    const char *name = g->p;
    uint32_t rule;
    while (g->p < g->stop && hyb_gbnf_in_name(*g->p)) g->p++;
    if (g->p == name) hyb_gbnf_fail(g, "the name of a rule is expected here");
    rule = hyb_gbnf_rule(g, name, (size_t)(g->p - name));
    if (!g->draft->failed && g->draft->rules[rule].start != HYB_DRAFT_NONE)
        hyb_gbnf_fail(g, "this rule is there already");
    hyb_gbnf_space(g, false);
    if (!g->draft->failed && (g->stop - g->p < 3 || memcmp(g->p, "::=", 3)))
        hyb_gbnf_fail(g, "::= is expected after the name of a rule");
    if (g->draft->failed) return;
    g->p += 3;
    hyb_gbnf_body(g);
    if (g->draft->failed) return;
    g->draft->rules[rule].start = g->item.start;
    g->draft->rules[rule].end = g->item.end;
}

/* After the last rule: what is used must be there. */
static void hyb_gbnf_check(hyb_gbnf *g)
{
    hyb_draft *draft = g->draft;
    size_t i;
    for (i = 0; i < draft->n_rules && !draft->failed; i++) {
        if (draft->rules[i].start != HYB_DRAFT_NONE) continue;
        if (i)
            draft->failed = hyb_fail(draft->error, HYBRID_ERROR_FORMAT, "GBNF, line %u: there is no rule \"%.*s\"",
                                     g->names[i].line, (int)HYB_MIN(g->names[i].size, 64), g->names[i].text);
        else
            draft->failed =
                hyb_fail(draft->error, HYBRID_ERROR_FORMAT, "GBNF: there is no rule \"root\" to begin with");
    }
}

/* Reads a grammar into an empty network; rule 0 is root. names (n_rules) are the caller's, to be freed; they point into
 * the text. The result is in draft->failed. */
static void hyb_gbnf_read(hyb_draft *draft, const char *text, size_t size, hyb_gbnf_name **names)
{
    hyb_gbnf g;
    memset(&g, 0, sizeof g);
    g.draft = draft;
    g.text = g.p = text;
    g.stop = text + size;
    g.line = 1;
    g.group = (hyb_gbnf_group *)hyb_alloc(draft->rt, HYB_GBNF_MAX_DEPTH * sizeof *g.group);
    g.ranges = (uint32_t(*)[2])hyb_alloc(draft->rt, HYB_GBNF_MAX_CLASS * sizeof *g.ranges);
    if (!g.group || !g.ranges) draft->failed = hyb_fail_memory(draft->error, HYB_GBNF_MAX_DEPTH * sizeof *g.group);
    hyb_gbnf_rule(&g, "root", 4);
    for (hyb_gbnf_space(&g, true); g.p < g.stop && !draft->failed; hyb_gbnf_space(&g, true)) hyb_gbnf_read_rule(&g);
    hyb_gbnf_check(&g);
    hyb_free(draft->rt, g.slots);
    hyb_free(draft->rt, g.group);
    hyb_free(draft->rt, g.ranges);
    *names = g.names;
}
#endif
