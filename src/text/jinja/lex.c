/* text/jinja/lex: a template's text as tokens, with Jinja's rules of white space: '-' and '+' at tags, trim_blocks,
 * lstrip_blocks. */
#ifndef HYB_TEXT_JINJA_LEX_C
#define HYB_TEXT_JINJA_LEX_C
#include "filter.c"

typedef enum hyb_jtoken_type {
    HYB_J_END,
    HYB_J_TEXT,
    HYB_J_PRINT_BEGIN,
    HYB_J_PRINT_END,
    HYB_J_BLOCK_BEGIN,
    HYB_J_BLOCK_END,
    HYB_J_NAME,
    HYB_J_STRING_TOKEN,
    HYB_J_INT_TOKEN,
    HYB_J_FLOAT_TOKEN,
    HYB_J_OPERATOR
} hyb_jtoken_type;

typedef struct hyb_jtoken {
    hyb_jtoken_type type;
    uint32_t at;   /* in the source */
    const char *p; /* text, name, string with its quotes */
    size_t n;
    int op; /* of an operator: its character, or first * 256 + second */
    int64_t i;
    double d;
} hyb_jtoken;

enum { HYB_J_BRACKETS = 256 };

typedef struct hyb_jlexer {
    const char *source, *p, *end;
    bool inside; /* of a tag */
    bool print;  /* the tag is {{ }} */
    bool trim, lstrip;
    char brackets[HYB_J_BRACKETS]; /* the closing ones that are awaited */
    int n_brackets;
    const char *problem; /* what is wrong, at p */
    bool too_much;       /* it is a limit */
} hyb_jlexer;

static bool hyb_jlex_fail(hyb_jlexer *x, const char *problem)
{
    if (!x->problem) x->problem = problem;
    return false;
}

static const char *hyb_jlex_skip_space(const char *p, const char *end)
{
    hyb_jtrim(&p, &end, true, false);
    return p;
}

/* After the sign of a closing delimiter was seen: eats what belongs to it. */
static void hyb_jlex_after(hyb_jlexer *x, char sign, bool block)
{
    if (sign == '-')
        x->p = hyb_jlex_skip_space(x->p, x->end);
    else if (block && x->trim && sign != '+' && x->p < x->end && *x->p == '\n')
        x->p++;
}

/* The end of text before a tag: without its white space ('-'), or without the indentation of the tag's own line
 * (lstrip_blocks). */
static const char *hyb_jlex_text_end(const hyb_jlexer *x, const char *text, const char *tag, char sign, bool print)
{
    const char *end = tag, *line, *stop;
    if (sign == '-') {
        hyb_jtrim(&text, &end, false, true);
        return end;
    }
    if (sign == '+' || print || !x->lstrip) return tag;
    for (line = tag; line > text && line[-1] != '\n'; line--) {}
    if (line == text && text > x->source && text[-1] != '\n') return tag;
    stop = tag;
    hyb_jtrim(&line, &stop, true, false);
    if (line < tag) return tag;
    for (line = tag; line > text && line[-1] != '\n'; line--) {}
    return line;
}

/* A closing delimiter "%}" with its sign at p: bytes, 0: none. */
static size_t hyb_jlex_close(const hyb_jlexer *x, const char *p, const char *mark, bool plus, char *sign)
{
    size_t signed_ = p < x->end && (*p == '-' || (plus && *p == '+'));
    *sign = signed_ ? *p : 0;
    return (size_t)(x->end - p) >= signed_ + 2 && p[signed_] == mark[0] && p[signed_ + 1] == mark[1] ? signed_ + 2 : 0;
}

/* {% raw %}: p stands after "{%" and its sign. Gives the text up to {% endraw %}. False with no problem: it is no
 * raw block. */
static bool hyb_jlex_raw(hyb_jlexer *x, const char *p, hyb_jtoken *t)
{
    const char *text, *tag, *q;
    char sign;
    size_t n;
    p = hyb_jlex_skip_space(p, x->end);
    if (x->end - p < 3 || memcmp(p, "raw", 3)) return false;
    p = hyb_jlex_skip_space(p + 3, x->end);
    if (!(n = hyb_jlex_close(x, p, "%}", false, &sign))) return false;
    x->p = p + n;
    if (sign == '-') x->p = hyb_jlex_skip_space(x->p, x->end);
    text = x->p;
    for (tag = text; (n = hyb_jfind(tag, (size_t)(x->end - tag), "{%", 2, 0)) != SIZE_MAX; tag += 2) {
        char before = 0;
        tag += n;
        q = tag + 2;
        if (q < x->end && (*q == '-' || *q == '+')) before = *q++;
        q = hyb_jlex_skip_space(q, x->end);
        if (x->end - q < 6 || memcmp(q, "endraw", 6)) continue;
        q = hyb_jlex_skip_space(q + 6, x->end);
        if (!(n = hyb_jlex_close(x, q, "%}", true, &sign))) continue;
        t->type = HYB_J_TEXT;
        t->p = text;
        t->n = (size_t)(hyb_jlex_text_end(x, text, tag, before, false) - text);
        x->p = q + n;
        hyb_jlex_after(x, sign, true);
        return true;
    }
    return hyb_jlex_fail(x, "{% raw %} is not closed by {% endraw %}");
}

/* Outside of tags: the text before the next one, or (at a tag) its beginning. */
static bool hyb_jlex_outside(hyb_jlexer *x, hyb_jtoken *t)
{
    while (x->p < x->end) {
        const char *text = x->p, *tag = text, *end;
        char sign;
        bool print;
        for (;
             tag < x->end && !(tag[0] == '{' && tag + 1 < x->end && (tag[1] == '{' || tag[1] == '%' || tag[1] == '#'));
             tag++) {}
        t->at = (uint32_t)(text - x->source);
        t->type = HYB_J_TEXT;
        t->p = text;
        if (tag == x->end) {
            t->n = (size_t)(tag - text);
            x->p = tag;
            return true;
        }
        sign = tag + 2 < x->end && (tag[2] == '-' || tag[2] == '+') ? tag[2] : 0;
        print = tag[1] == '{';
        end = hyb_jlex_text_end(x, text, tag, sign, print);
        /* the tag is next; its text is empty then */
        if (end > text) {
            t->n = (size_t)(end - text);
            x->p = tag;
            return true;
        }
        x->p = tag;
        t->at = (uint32_t)(tag - x->source);
        if (tag[1] == '#') {
            const char *inner = tag + 2 + (sign != 0);
            size_t at = hyb_jfind(inner, (size_t)(x->end - inner), "#}", 2, 0);
            if (at == SIZE_MAX) return hyb_jlex_fail(x, "a comment is not closed by #}");
            x->p = inner + at + 2;
            sign = at ? inner[at - 1] : 0;
            hyb_jlex_after(x, sign, true);
            continue;
        }
        if (!print && hyb_jlex_raw(x, tag + 2 + (sign != 0), t)) {
            if (t->n) return true;
            continue;
        }
        if (x->problem) return false;
        x->p = tag + 2 + (sign != 0);
        x->inside = true;
        x->print = print;
        t->type = print ? HYB_J_PRINT_BEGIN : HYB_J_BLOCK_BEGIN;
        return true;
    }
    t->type = HYB_J_END;
    t->at = (uint32_t)(x->end - x->source);
    return true;
}

/* Digits with single underscores between them. */
static const char *hyb_jlex_digits(const char *p, const char *end)
{
    while (p < end && (hyb_is_digit(*p) || (*p == '_' && hyb_is_digit(p[-1]) && p + 1 < end && hyb_is_digit(p[1]))))
        p++;
    return p;
}

static bool hyb_jlex_number(hyb_jlexer *x, hyb_jtoken *t)
{
    char text[256];
    const char *p = x->p, *q, *start = p;
    size_t n = 0;
    bool after_dot = p > x->source && p[-1] == '.'; /* a.0.1 are two indices */
    bool big;
    int64_t base = 10;
    hyb_jstring s;
    if (*p == '0' && p + 2 < x->end && strchr("xXoObB", p[1]))
        base = (p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : 2;
    t->type = HYB_J_INT_TOKEN;
    if (base != 10) {
        for (p += 2; p < x->end && (hyb_is_digit(*p) || ((*p | 32) >= 'a' && (*p | 32) <= 'f') || *p == '_'); p++) {}
    } else {
        p = hyb_jlex_digits(p, x->end);
        if (!after_dot && p + 1 < x->end && *p == '.' && hyb_is_digit(p[1])) {
            p = hyb_jlex_digits(p + 1, x->end);
            t->type = HYB_J_FLOAT_TOKEN;
        }
        if (!after_dot && p < x->end && (*p | 32) == 'e') {
            q = p + 1;
            if (q < x->end && (*q == '+' || *q == '-')) q++;
            if (q < x->end && hyb_is_digit(*q)) {
                p = hyb_jlex_digits(q, x->end);
                t->type = HYB_J_FLOAT_TOKEN;
            }
        }
    }
    for (q = start; q < p && n + 1 < sizeof text; q++)
        if (*q != '_') text[n++] = *q;
    text[n] = 0;
    if (n + 1 == sizeof text) return hyb_jlex_fail(x, "a number is too long");
    s.p = text;
    s.n = n;
    s.chars = n;
    s.buffer = NULL;
    if (t->type == HYB_J_INT_TOKEN && base == 10 && text[0] == '0' && n > strspn(text, "0"))
        return hyb_jlex_fail(x, "a number has a leading zero");
    if (t->type == HYB_J_FLOAT_TOKEN)
        hyb_decimal_read(text, text + n, &t->d);
    else if (!hyb_jparse_int(&s, base, &t->i, &big) || big) {
        x->too_much = true;
        return hyb_jlex_fail(x, "an integer leaves the range of 64 bits");
    }
    x->p = p;
    return true;
}

static bool hyb_jlex_operator(hyb_jlexer *x, hyb_jtoken *t)
{
    static const char pairs[] = "**//==!=>=<=", singles[] = "+-/*%~[](){}><=.:|,;";
    const char *p = x->p;
    size_t i;
    t->type = HYB_J_OPERATOR;
    for (i = 0; pairs[i] && x->end - p >= 2; i += 2)
        if (p[0] == pairs[i] && p[1] == pairs[i + 1]) {
            t->op = p[0] * 256 + p[1];
            x->p += 2;
            return true;
        }
    if (!*p || !strchr(singles, *p)) return hyb_jlex_fail(x, "this character has no meaning here");
    t->op = *p;
    if (*p == '(' || *p == '[' || *p == '{') {
        if (x->n_brackets == HYB_J_BRACKETS) {
            x->too_much = true;
            return hyb_jlex_fail(x, "brackets are nested too deep");
        }
        x->brackets[x->n_brackets++] = *p == '(' ? ')' : *p == '[' ? ']' : '}';
    } else if (*p == ')' || *p == ']' || *p == '}') {
        if (!x->n_brackets || x->brackets[x->n_brackets - 1] != *p)
            return hyb_jlex_fail(x, "this bracket closes nothing");
        x->n_brackets--;
    }
    x->p++;
    return true;
}

/* A character of names, and what else \w takes. n: its bytes. */
static bool hyb_jlex_word(const char *p, const char *end, size_t *n)
{
    uint32_t code;
    *n = hyb_utf8_next(p, end, &code);
    return hyb_jis_word(code);
}

static bool hyb_jlex_inside(hyb_jlexer *x, hyb_jtoken *t)
{
    const char *p;
    char sign;
    size_t n;
    x->p = hyb_jlex_skip_space(x->p, x->end);
    t->at = (uint32_t)(x->p - x->source);
    t->p = p = x->p;
    if (p == x->end)
        return hyb_jlex_fail(x, x->print ? "the template ends inside of {{ }}" : "the template ends inside of {% %}");
    if (!x->n_brackets && (n = hyb_jlex_close(x, p, x->print ? "}}" : "%}", !x->print, &sign)) != 0) {
        x->p += n;
        x->inside = false;
        hyb_jlex_after(x, sign, !x->print);
        t->type = x->print ? HYB_J_PRINT_END : HYB_J_BLOCK_END;
        return true;
    }
    if (hyb_is_digit(*p)) return hyb_jlex_number(x, t);
    if (*p == '"' || *p == '\'') {
        for (p++; p < x->end && *p != *x->p; p++)
            if (*p == '\\' && p + 1 < x->end) p++;
        if (p == x->end) return hyb_jlex_fail(x, "a string is not closed");
        t->type = HYB_J_STRING_TOKEN;
        t->n = (size_t)(p + 1 - x->p);
        x->p = p + 1;
        return true;
    }
    while (p < x->end && hyb_jlex_word(p, x->end, &n)) p += n;
    if (p == x->p) return hyb_jlex_operator(x, t);
    if (!hyb_jis_identifier(x->p, p)) return hyb_jlex_fail(x, "this is not a name");
    t->type = HYB_J_NAME;
    t->n = (size_t)(p - x->p);
    x->p = p;
    return true;
}

/* The next token; false: x->problem says what is wrong at x->p. */
static bool hyb_jlex_next(hyb_jlexer *x, hyb_jtoken *t)
{
    memset(t, 0, sizeof *t);
    return x->inside ? hyb_jlex_inside(x, t) : hyb_jlex_outside(x, t);
}
#endif
