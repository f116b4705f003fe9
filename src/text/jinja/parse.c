/* text/jinja/parse: tokens to a tree. The grammar is Jinja's own, its odd corners included (a ** b ** c is (a ** b) **
 * c, a filter binds tighter than a sign, every word can be a name where a value is expected). */
#ifndef HYB_TEXT_JINJA_PARSE_C
#define HYB_TEXT_JINJA_PARSE_C
#include "lex.c"

typedef enum hyb_jkind {
    /* expressions */
    HYB_J_CONST,
    HYB_J_VARIABLE,
    HYB_J_LIST_OF,
    HYB_J_TUPLE_OF,
    HYB_J_DICT_OF,
    HYB_J_CHOICE,
    /* links of a chain: a is what they follow */
    HYB_J_NOT,
    HYB_J_NEGATE,
    HYB_J_PLUS,
    HYB_J_BINARY,
    HYB_J_AND,
    HYB_J_OR,
    HYB_J_COMPARE,
    HYB_J_ATTRIBUTE,
    HYB_J_ITEM,
    HYB_J_SLICE,
    HYB_J_CALL,
    HYB_J_FILTER,
    HYB_J_TEST,
    /* arguments and parts */
    HYB_J_POSITIONAL,
    HYB_J_KEYWORD,
    HYB_J_STAR,
    HYB_J_STARSTAR,
    HYB_J_PART,
    HYB_J_MEMBER,
    /* statements */
    HYB_J_OUTPUT_TEXT,
    HYB_J_OUTPUT,
    HYB_J_IF,
    HYB_J_FOR,
    HYB_J_SET,
    HYB_J_SET_BLOCK,
    HYB_J_MACRO,
    HYB_J_CALL_BLOCK,
    HYB_J_FILTER_BLOCK,
    HYB_J_WITH,
    HYB_J_BLOCK,
    HYB_J_BREAK,
    HYB_J_CONTINUE
} hyb_jkind;

/* One node. What a, b, c, d hold by kind:
 *   LIST_OF TUPLE_OF  a: PARTs            DICT_OF  a: MEMBERs (a: key, b: value)      NOT a (flag: an
 *                     even number)   NEGATE PLUS  a
 *   BINARY AND OR     a, b                COMPARE  a: first, b: PARTs with op         CHOICE  a if b else c
 *   ATTRIBUTE a.name  ITEM a[b]           SLICE    a[b:c:d]                           CALL  a(b)
 *                     FILTER  a|name(b)   TEST  a is name(b)
 *   OUTPUT a, b: more PARTs    IF   a: condition, b: then, c: the next IF or the else part (flag)
 *   FOR  a: target, b: items, c: body, d: PART (a: condition, b: else part), flag: recursive
 *   SET  a: target, b: value              SET_BLOCK  a: target, b: filters around NULL, c: body
 *   MACRO name, b: parameters (KEYWORDs, a: default), c: body      CALL_BLOCK  a: CALL, b: parameters, c: body
 *   FILTER_BLOCK  b: filters, c: body     WITH  b: SETs, c: body   BLOCK  c: body with a scope */
struct hyb_jnode {
    uint8_t kind, op;
    bool flag;
    uint32_t at;
    hyb_jnode *next; /* in the list it is part of */
    hyb_jnode *a, *b, *c, *d;
    hyb_jnode *outer;  /* whose a this is, in a chain a + b.c|d: evaluated from the inside out without recursion */
    hyb_jstring *name; /* one string for all uses of a name: names are compared by address */
    hyb_jvalue value;
};

static bool hyb_jinja_repr_function(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v)
{
    const hyb_jfunction *f = v.u.function;
    if (v.type == HYB_J_LOOP) {
        char text[64];
        const hyb_jloop *loop = v.u.loop;
        snprintf(text, sizeof text, "<LoopContext %lu/%lu>", (unsigned long)loop->i + 1, (unsigned long)loop->items->n);
        return hyb_jinja_puts(j, b, text);
    }
    if (f->builtin && f->self.type > HYB_J_NONE) /* Python writes an address */
        return hyb_jinja_puts(j, b, "<built-in method ") && hyb_jinja_puts(j, b, f->builtin->name) &&
               hyb_jinja_puts(j, b, " of ") && hyb_jinja_puts(j, b, hyb_jtype_name(f->self)) &&
               hyb_jinja_puts(j, b, " object at 0x0>");
    if (f->builtin)
        return hyb_jinja_puts(j, b, "<function ") && hyb_jinja_puts(j, b, f->builtin->name) &&
               hyb_jinja_put(j, b, ">", 1);
    if (!f->node->name) return hyb_jinja_puts(j, b, "<Macro None>");
    return hyb_jinja_puts(j, b, "<Macro ") && hyb_jinja_repr_string(j, b, f->node->name) && hyb_jinja_put(j, b, ">", 1);
}

typedef struct hyb_jparser {
    hyb_jarena *arena;
    hyb_jlexer lex;
    hyb_jtoken now, peek; /* the token at hand, and the one after it */
    hyb_jdict *names;
    hybrid_error *error;
    hybrid_result result;
    int depth, loops; /* nesting left; loops around (for break) */
} hyb_jparser;

static HYB_PRINTF(4, 5) void hyb_jparse_fail(hyb_jparser *p, hybrid_result result, size_t at, const char *format, ...)
{
    char text[200];
    unsigned line, column;
    va_list args;
    if (p->result) return;
    p->result = result;
    if (!p->error) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hyb_jinja_place(p->lex.source, (size_t)(p->lex.end - p->lex.source), at, &line, &column);
    hyb_fail_at(p->error, result, at, "template line %u, column %u: %s", line, column, text);
}
static void hyb_jparse_spent(hyb_jparser *p)
{
    if (p->arena->result == HYBRID_ERROR_MEMORY)
        hyb_jparse_fail(p, HYBRID_ERROR_MEMORY, p->now.at, "out of memory");
    else
        hyb_jparse_fail(p, HYBRID_ERROR_LIMIT, p->now.at, "the template is too large");
}

/* From the first error on, every token is the end: all loops of the parser come to their end then. */
static void hyb_jparse_advance(hyb_jparser *p)
{
    p->now = p->peek;
    if (!p->result && !hyb_jlex_next(&p->lex, &p->peek))
        hyb_jparse_fail(p, p->lex.too_much ? HYBRID_ERROR_LIMIT : HYBRID_ERROR_FORMAT,
                        (size_t)(p->lex.p - p->lex.source), "%s", p->lex.problem);
    if (p->result) {
        memset(&p->now, 0, sizeof p->now);
        memset(&p->peek, 0, sizeof p->peek);
    }
}

/* What stands at hand, for messages. */
static void hyb_jparse_unexpected(hyb_jparser *p, const char *wanted)
{
    static const char *const types[] = {
        "the end of the template", "text", "{{", "}}", "{%", "%}", "", "a string", "a number", "a number", ""
    };
    char op[4];
    op[0] = (char)(p->now.op > 255 ? p->now.op >> 8 : p->now.op);
    op[1] = (char)(p->now.op > 255 ? p->now.op & 255 : 0);
    op[2] = 0;
    if (p->now.type == HYB_J_NAME)
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "%s is expected, not '%.*s'", wanted,
                        (int)HYB_MIN(p->now.n, (size_t)60), p->now.p);
    else
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "%s is expected, not %s", wanted,
                        p->now.type == HYB_J_OPERATOR ? op : types[p->now.type]);
    hyb_jparse_advance(p);
}

static bool hyb_jparse_is_op(const hyb_jparser *p, int op) { return p->now.type == HYB_J_OPERATOR && p->now.op == op; }
static bool hyb_jparse_is_word(const hyb_jparser *p, const char *words)
{
    return p->now.type == HYB_J_NAME && hyb_jword(words, p->now.p, p->now.n) >= 0;
}
static bool hyb_jparse_skip_op(hyb_jparser *p, int op)
{
    if (!hyb_jparse_is_op(p, op)) return false;
    hyb_jparse_advance(p);
    return true;
}
static bool hyb_jparse_skip_word(hyb_jparser *p, const char *word)
{
    if (!hyb_jparse_is_word(p, word)) return false;
    hyb_jparse_advance(p);
    return true;
}
static void hyb_jparse_want_op(hyb_jparser *p, int op, const char *shown)
{
    if (!hyb_jparse_skip_op(p, op)) hyb_jparse_unexpected(p, shown);
}

/* Every recursion of the parser enters here and leaves by p->depth++. */
static bool hyb_jparse_enter(hyb_jparser *p)
{
    if (p->result) return false;
    if (!hyb_jarena_room(p->arena, p->depth)) {
        hyb_jparse_fail(p, HYBRID_ERROR_LIMIT, p->now.at, "the template is nested too deep");
        hyb_jparse_advance(p);
        return false;
    }
    p->depth--;
    return true;
}

/* A node at the place of the token at hand; NULL: error set. */
static hyb_jnode *hyb_jparse_node(hyb_jparser *p, hyb_jkind kind)
{
    hyb_jnode *n = (hyb_jnode *)hyb_jarena_alloc(p->arena, sizeof *n);
    if (!n) {
        hyb_jparse_spent(p);
        hyb_jparse_advance(p);
        return NULL;
    }
    memset(n, 0, sizeof *n);
    n->kind = (uint8_t)kind;
    n->at = p->now.at;
    n->value = hyb_jnone();
    return n;
}

/* A node whose a is n: the next link of a chain. */
static hyb_jnode *hyb_jparse_around(hyb_jparser *p, hyb_jkind kind, hyb_jnode *n)
{
    hyb_jnode *outer = hyb_jparse_node(p, kind);
    if (!outer) return NULL;
    outer->a = n;
    if (n) n->outer = outer;
    return outer;
}

/* The one string of a name. */
static hyb_jstring *hyb_jparse_intern(hyb_jparser *p, const char *name, size_t n)
{
    hyb_jvalue key;
    hyb_jentry *e;
    if (!hyb_jstring_view(p->arena, name, n, &key)) {
        hyb_jparse_spent(p);
        return NULL;
    }
    hyb_jstring_chars(p->arena, key.u.s); /* counted now: several threads may share a template */
    if ((e = hyb_jdict_find(p->arena, p->names, key)) != NULL) return e->value.u.s;
    if (!hyb_jdict_set(p->arena, p->names, key, key)) {
        hyb_jparse_spent(p);
        return NULL;
    }
    return key.u.s;
}
/* A name at hand, taken. */
static hyb_jstring *hyb_jparse_name(hyb_jparser *p)
{
    hyb_jstring *name;
    if (p->now.type != HYB_J_NAME) {
        hyb_jparse_unexpected(p, "a name");
        return NULL;
    }
    name = hyb_jparse_intern(p, p->now.p, p->now.n);
    hyb_jparse_advance(p);
    return name;
}

/* The escapes of Python's strings; an unknown one stays as it is. Returns the bytes written (at most those read). */
static size_t hyb_jparse_unescape(const char *p, const char *end, char *out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char *start = out;
    while (p < end) {
        const char *known;
        uint32_t code = 0;
        int digits = 0, most;
        if (*p != '\\' || p + 1 == end) {
            *out++ = *p++;
            continue;
        }
        p++;
        if (*p == '\n') {
            p++;
            continue;
        }
        if (*p && (known = strchr(from, *p)) != NULL) {
            *out++ = to[known - from];
            p++;
            continue;
        }
        most = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
        if (most) {
            for (digits = 0; digits < most && p + 1 + digits < end; digits++) {
                char c = p[1 + digits];
                int d = hyb_is_digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
                if (d < 0) break;
                code = code << 4 | (uint32_t)d;
            }
            if (digits == most) {
                p += 1 + most;
                out += hyb_utf8_write(code, out);
                continue;
            }
        } else if (*p >= '0' && *p <= '7') {
            for (; digits < 3 && p < end && *p >= '0' && *p <= '7'; digits++) code = code * 8 + (uint32_t)(*p++ - '0');
            out += hyb_utf8_write(code, out);
            continue;
        }
        *out++ = '\\';
    }
    return (size_t)(out - start);
}

static hyb_jnode *hyb_jparse_const(hyb_jparser *p, hyb_jvalue v)
{
    hyb_jnode *n = hyb_jparse_node(p, HYB_J_CONST);
    if (n) n->value = v;
    return n;
}

/* Neighbouring strings are one. */
static hyb_jnode *hyb_jparse_string(hyb_jparser *p)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jnode *n = hyb_jparse_node(p, HYB_J_CONST);
    while (n && p->now.type == HYB_J_STRING_TOKEN) {
        /* \7 is two bytes and makes one; \u0800 makes three */
        char *text = (char *)hyb_jarena_alloc(p->arena, p->now.n * 2);
        if (!text ||
            !hyb_jbuffer_append(p->arena, &b, text, hyb_jparse_unescape(p->now.p + 1, p->now.p + p->now.n - 1, text))) {
            hyb_jparse_spent(p);
            return NULL;
        }
        hyb_jparse_advance(p);
    }
    if (!n || !hyb_jstring_buffer(p->arena, &b, &n->value)) {
        hyb_jparse_spent(p);
        return NULL;
    }
    hyb_jstring_chars(p->arena, n->value.u.s);
    return n;
}

static hyb_jnode *hyb_jparse_expression(hyb_jparser *p);
static hyb_jnode *hyb_jparse_operators(hyb_jparser *p, int least);

/* How tight operators bind. */
enum {
    HYB_J_BIND_OR = 1,
    HYB_J_BIND_AND,
    HYB_J_BIND_NOT,
    HYB_J_BIND_COMPARE,
    HYB_J_BIND_ADD,
    HYB_J_BIND_TILDE,
    HYB_J_BIND_MUL,
    HYB_J_BIND_POW
};

static hyb_jnode *hyb_jparse_primary(hyb_jparser *p, bool target);

static bool hyb_jparse_tuple_ends(const hyb_jparser *p, const char *stop)
{
    return p->now.type == HYB_J_PRINT_END || p->now.type == HYB_J_BLOCK_END || p->now.type == HYB_J_END ||
           hyb_jparse_is_op(p, ')') || hyb_jparse_is_word(p, stop);
}

typedef enum hyb_jtuple { HYB_J_FULL, HYB_J_NO_CHOICE, HYB_J_TARGET } hyb_jtuple;

/* One expression, or several with commas: a tuple. NO_CHOICE: without "if", TARGET: names to assign to. stop: words
 * that end it. */
static hyb_jnode *hyb_jparse_tuple(hyb_jparser *p, hyb_jtuple how, const char *stop, bool brackets)
{
    hyb_jnode *tuple = hyb_jparse_node(p, HYB_J_TUPLE_OF), **tail, *part;
    bool comma = false;
    if (!tuple) return NULL;
    for (tail = &tuple->a; !hyb_jparse_tuple_ends(p, stop); tail = &part->next) {
        if (!(part = hyb_jparse_node(p, HYB_J_PART))) return NULL;
        part->a = how == HYB_J_TARGET ? hyb_jparse_primary(p, true)
                  : how == HYB_J_FULL ? hyb_jparse_expression(p)
                                      : hyb_jparse_operators(p, HYB_J_BIND_OR);
        if (!part->a) return NULL;
        *tail = part;
        if (!hyb_jparse_skip_op(p, ',')) {
            if (!comma) return part->a;
            break;
        }
        comma = true;
    }
    if (!comma && !brackets) {
        hyb_jparse_unexpected(p, "an expression");
        return NULL;
    }
    return tuple;
}

/* [a, b] and {a: b} */
static hyb_jnode *hyb_jparse_list(hyb_jparser *p, bool dict)
{
    hyb_jnode *list = hyb_jparse_node(p, dict ? HYB_J_DICT_OF : HYB_J_LIST_OF), **tail, *part;
    int close = dict ? '}' : ']';
    if (!list) return NULL;
    hyb_jparse_advance(p);
    for (tail = &list->a; !hyb_jparse_is_op(p, close); tail = &part->next) {
        if (!(part = hyb_jparse_node(p, dict ? HYB_J_MEMBER : HYB_J_PART)) || !(part->a = hyb_jparse_expression(p)))
            return NULL;
        if (dict) {
            hyb_jparse_want_op(p, ':', "':'");
            if (!(part->b = hyb_jparse_expression(p))) return NULL;
        }
        *tail = part;
        if (!hyb_jparse_skip_op(p, ',')) break;
    }
    hyb_jparse_want_op(p, close, dict ? "',' or '}'" : "',' or ']'");
    return p->result ? NULL : list;
}

static hyb_jnode *hyb_jparse_primary(hyb_jparser *p, bool target)
{
    hyb_jnode *n;
    switch (p->now.type) {
    case HYB_J_NAME:
        if (hyb_jparse_is_word(p, "true True"))
            n = hyb_jparse_const(p, hyb_jbool(true));
        else if (hyb_jparse_is_word(p, "false False"))
            n = hyb_jparse_const(p, hyb_jbool(false));
        else if (hyb_jparse_is_word(p, "none None"))
            n = hyb_jparse_const(p, hyb_jnone());
        else {
            if (!(n = hyb_jparse_node(p, HYB_J_VARIABLE)) || !(n->name = hyb_jparse_name(p))) return NULL;
            if (target && hyb_jparse_is_op(p, '.')) { /* a member of a namespace */
                hyb_jnode *member = hyb_jparse_node(p, HYB_J_ATTRIBUTE);
                hyb_jparse_advance(p);
                if (!member || !(member->name = hyb_jparse_name(p))) return NULL;
                member->a = n;
                return member;
            }
            return n;
        }
        hyb_jparse_advance(p);
        return n;
    case HYB_J_STRING_TOKEN: return hyb_jparse_string(p);
    case HYB_J_INT_TOKEN:
        n = hyb_jparse_const(p, hyb_jint(p->now.i));
        hyb_jparse_advance(p);
        return n;
    case HYB_J_FLOAT_TOKEN:
        n = hyb_jparse_const(p, hyb_jfloat(p->now.d));
        hyb_jparse_advance(p);
        return n;
    default: break;
    }
    if (hyb_jparse_is_op(p, '(')) {
        if (!hyb_jparse_enter(p)) return NULL;
        hyb_jparse_advance(p);
        n = hyb_jparse_tuple(p, target ? HYB_J_TARGET : HYB_J_FULL, "", true);
        p->depth++;
        if (!n) return NULL;
        hyb_jparse_want_op(p, ')', "')'");
        return p->result ? NULL : n;
    }
    if (hyb_jparse_is_op(p, '[')) return hyb_jparse_list(p, false);
    if (hyb_jparse_is_op(p, '{')) return hyb_jparse_list(p, true);
    hyb_jparse_unexpected(p, "an expression");
    return NULL;
}

/* (a, *b, name=c, **d), the bracket at hand. False: error. */
static bool hyb_jparse_args(hyb_jparser *p, hyb_jnode **args)
{
    hyb_jnode *arg, **tail = args;
    int last = HYB_J_POSITIONAL;
    hyb_jparse_advance(p);
    while (!hyb_jparse_is_op(p, ')')) {
        hyb_jkind kind = hyb_jparse_is_op(p, '*')               ? HYB_J_STAR
                         : hyb_jparse_is_op(p, '*' * 256 + '*') ? HYB_J_STARSTAR
                         : p->now.type == HYB_J_NAME && p->peek.type == HYB_J_OPERATOR && p->peek.op == '='
                             ? HYB_J_KEYWORD
                             : HYB_J_POSITIONAL;
        if (!(arg = hyb_jparse_node(p, kind))) return false;
        if ((kind == HYB_J_POSITIONAL && last != HYB_J_POSITIONAL) || last == HYB_J_STARSTAR) {
            hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at,
                            "this argument must stand before those with a name or a star");
            return false;
        }
        last = kind;
        if (kind == HYB_J_KEYWORD && !(arg->name = hyb_jparse_name(p))) return false;
        if (kind != HYB_J_POSITIONAL) hyb_jparse_advance(p);
        if (!(arg->a = hyb_jparse_expression(p))) return false;
        *tail = arg;
        tail = &arg->next;
        if (!hyb_jparse_skip_op(p, ',')) break;
    }
    hyb_jparse_want_op(p, ')', "',' or ')'");
    return !p->result;
}

/* What is in the brackets after a value: an index or a slice. */
static hyb_jnode *hyb_jparse_subscript(hyb_jparser *p, hyb_jnode *of)
{
    hyb_jnode *n = hyb_jparse_around(p, HYB_J_ITEM, of);
    if (!n) return NULL;
    hyb_jparse_advance(p);
    if (!hyb_jparse_is_op(p, ':') && !(n->b = hyb_jparse_expression(p))) return NULL;
    if (hyb_jparse_skip_op(p, ':')) {
        n->kind = HYB_J_SLICE;
        if (!hyb_jparse_is_op(p, ':') && !hyb_jparse_is_op(p, ']') && !(n->c = hyb_jparse_expression(p))) return NULL;
        if (hyb_jparse_skip_op(p, ':') && !hyb_jparse_is_op(p, ']') && !(n->d = hyb_jparse_expression(p))) return NULL;
    }
    hyb_jparse_want_op(p, ']', "']'");
    return p->result ? NULL : n;
}

/* of.name or of.0, the dot at hand */
static hyb_jnode *hyb_jparse_member(hyb_jparser *p, hyb_jnode *of)
{
    hyb_jnode *n;
    hyb_jparse_advance(p);
    n = hyb_jparse_around(p, p->now.type == HYB_J_INT_TOKEN ? HYB_J_ITEM : HYB_J_ATTRIBUTE, of);
    if (!n) return NULL;
    if (n->kind == HYB_J_ATTRIBUTE) return (n->name = hyb_jparse_name(p)) != NULL ? n : NULL;
    if (!(n->b = hyb_jparse_const(p, hyb_jint(p->now.i)))) return NULL;
    hyb_jparse_advance(p);
    return n;
}

/* of(...), the bracket at hand */
static hyb_jnode *hyb_jparse_call(hyb_jparser *p, hyb_jnode *of)
{
    hyb_jnode *n = hyb_jparse_around(p, HYB_J_CALL, of);
    return n && hyb_jparse_args(p, &n->b) ? n : NULL;
}

static hyb_jnode *hyb_jparse_postfix(hyb_jparser *p, hyb_jnode *n)
{
    while (n) {
        if (hyb_jparse_is_op(p, '.'))
            n = hyb_jparse_member(p, n);
        else if (hyb_jparse_is_op(p, '['))
            n = hyb_jparse_subscript(p, n);
        else if (hyb_jparse_is_op(p, '('))
            n = hyb_jparse_call(p, n);
        else
            break;
    }
    return n;
}

/* name.more, as filters and tests of extensions are called: one name */
static hyb_jnode *hyb_jparse_filter(hyb_jparser *p, hyb_jnode *of)
{
    hyb_jnode *n = hyb_jparse_around(p, HYB_J_FILTER, of);
    if (!n || !(n->name = hyb_jparse_name(p))) return NULL;
    if (hyb_jparse_is_op(p, '(') && !hyb_jparse_args(p, &n->b)) return NULL;
    return n;
}

static hyb_jnode *hyb_jparse_test(hyb_jparser *p, hyb_jnode *of)
{
    bool negated = hyb_jparse_skip_word(p, "not");
    hyb_jnode *n = hyb_jparse_around(p, HYB_J_TEST, of);
    if (!n || !(n->name = hyb_jparse_name(p))) return NULL;
    if (hyb_jparse_is_op(p, '(')) {
        if (!hyb_jparse_args(p, &n->b)) return NULL;
    } else if (hyb_jparse_is_word(p, "is")) {
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "tests cannot be chained with 'is'");
        return NULL;
    } else if (((p->now.type >= HYB_J_NAME && p->now.type <= HYB_J_FLOAT_TOKEN) || hyb_jparse_is_op(p, '[') ||
                hyb_jparse_is_op(p, '{')) &&
               !hyb_jparse_is_word(p, "else or and")) {
        if (!(n->b = hyb_jparse_node(p, HYB_J_POSITIONAL))) return NULL;
        if (!(n->b->a = hyb_jparse_postfix(p, hyb_jparse_primary(p, false)))) return NULL;
    }
    return negated ? hyb_jparse_around(p, HYB_J_NOT, n) : n;
}

/* A value with signs before it and filters and tests after it. Of several signs only their product is kept. */
static hyb_jnode *hyb_jparse_unary(hyb_jparser *p)
{
    hyb_jnode *n, *sign = NULL;
    if (!hyb_jparse_enter(p)) return NULL;
    for (; hyb_jparse_is_op(p, '-') || hyb_jparse_is_op(p, '+'); hyb_jparse_advance(p)) {
        if (!sign && !(sign = hyb_jparse_node(p, HYB_J_PLUS))) return NULL;
        if (hyb_jparse_is_op(p, '-')) sign->kind = sign->kind == HYB_J_PLUS ? HYB_J_NEGATE : HYB_J_PLUS;
    }
    n = hyb_jparse_postfix(p, hyb_jparse_primary(p, false));
    if (n && sign) {
        sign->a = n;
        n->outer = sign;
        n = sign;
    }
    while (n) {
        if (hyb_jparse_skip_op(p, '|'))
            n = hyb_jparse_filter(p, n);
        else if (hyb_jparse_skip_word(p, "is"))
            n = hyb_jparse_test(p, n);
        else if (hyb_jparse_is_op(p, '('))
            n = hyb_jparse_call(p, n);
        else
            break;
    }
    p->depth++;
    return n;
}

/* How tight the operator at hand binds; 0: it is none. All bind to the left, ** too. */
static int hyb_jparse_operator(hyb_jparser *p, hyb_jkind *kind, hyb_jop *op)
{
    *kind = HYB_J_BINARY;
    if (p->now.type == HYB_J_NAME) {
        if (hyb_jparse_is_word(p, "or")) {
            *kind = HYB_J_OR;
            return HYB_J_BIND_OR;
        }
        if (hyb_jparse_is_word(p, "and")) {
            *kind = HYB_J_AND;
            return HYB_J_BIND_AND;
        }
        *kind = HYB_J_COMPARE;
        if (hyb_jparse_is_word(p, "in")) {
            *op = HYB_J_IN;
            return HYB_J_BIND_COMPARE;
        }
        if (!hyb_jparse_is_word(p, "not") || p->peek.type != HYB_J_NAME || p->peek.n != 2 || memcmp(p->peek.p, "in", 2))
            return 0;
        *op = HYB_J_NOT_IN;
        return HYB_J_BIND_COMPARE;
    }
    if (p->now.type != HYB_J_OPERATOR) return 0;
    switch (p->now.op) {
    case '+': *op = HYB_J_ADD; return HYB_J_BIND_ADD;
    case '-': *op = HYB_J_SUB; return HYB_J_BIND_ADD;
    case '~': *op = HYB_J_TILDE; return HYB_J_BIND_TILDE;
    case '*': *op = HYB_J_MUL; return HYB_J_BIND_MUL;
    case '/': *op = HYB_J_DIV; return HYB_J_BIND_MUL;
    case '/' * 256 + '/': *op = HYB_J_FLOORDIV; return HYB_J_BIND_MUL;
    case '%': *op = HYB_J_MOD; return HYB_J_BIND_MUL;
    case '*' * 256 + '*': *op = HYB_J_POW; return HYB_J_BIND_POW;
    case '=' * 256 + '=': *op = HYB_J_EQ; break;
    case '!' * 256 + '=': *op = HYB_J_NE; break;
    case '<' * 256 + '=': *op = HYB_J_LE; break;
    case '>' * 256 + '=': *op = HYB_J_GE; break;
    case '<': *op = HYB_J_LT; break;
    case '>': *op = HYB_J_GT; break;
    default: return 0;
    }
    *kind = HYB_J_COMPARE;
    return HYB_J_BIND_COMPARE;
}

/* first < b <= c is one node; the first operator is at hand. */
static hyb_jnode *hyb_jparse_compare(hyb_jparser *p, hyb_jnode *first)
{
    hyb_jnode *n = hyb_jparse_around(p, HYB_J_COMPARE, first), **tail, *part;
    hyb_jkind kind;
    hyb_jop op = HYB_J_EQ;
    if (!n) return NULL;
    for (tail = &n->b; hyb_jparse_operator(p, &kind, &op) == HYB_J_BIND_COMPARE; tail = &part->next) {
        if (op == HYB_J_NOT_IN) hyb_jparse_advance(p);
        if (!(part = hyb_jparse_node(p, HYB_J_PART))) return NULL;
        part->op = (uint8_t)op;
        hyb_jparse_advance(p);
        if (!(part->a = hyb_jparse_operators(p, HYB_J_BIND_ADD))) return NULL;
        *tail = part;
    }
    return n;
}

/* Operands and the operators between them that bind at least as tight as least. */
static hyb_jnode *hyb_jparse_operators(hyb_jparser *p, int least)
{
    hyb_jnode *n, *outer = NULL;
    hyb_jkind kind;
    hyb_jop op = HYB_J_ADD;
    int level;
    if (least <= HYB_J_BIND_NOT && hyb_jparse_is_word(p, "not")) {
        if (!(outer = hyb_jparse_node(p, HYB_J_NOT))) return NULL;
        outer->flag = true;
        /* not not not a: only their parity is kept */
        while (hyb_jparse_skip_word(p, "not")) outer->flag = !outer->flag;
        if (!(n = hyb_jparse_operators(p, HYB_J_BIND_COMPARE))) return NULL;
        outer->a = n;
        n->outer = outer;
        n = outer;
    } else if (!(n = hyb_jparse_unary(p))) {
        return NULL;
    }
    while ((level = hyb_jparse_operator(p, &kind, &op)) >= least && level) {
        if (kind == HYB_J_COMPARE) {
            if (!(n = hyb_jparse_compare(p, n))) return NULL;
            continue;
        }
        if (!(outer = hyb_jparse_around(p, kind, n))) return NULL;
        outer->op = (uint8_t)op;
        hyb_jparse_advance(p);
        if (!(outer->b = hyb_jparse_operators(p, level + 1))) return NULL;
        n = outer;
    }
    return n;
}

/* a if b else c; without else it is undefined. A chain of else is one loop, here and when it is evaluated. */
static hyb_jnode *hyb_jparse_expression(hyb_jparser *p)
{
    hyb_jnode *root = NULL, **slot = &root, *value, *n;
    if (!hyb_jparse_enter(p)) return NULL;
    value = hyb_jparse_operators(p, HYB_J_BIND_OR);
    while (value && hyb_jparse_is_word(p, "if")) {
        if (!(n = hyb_jparse_node(p, HYB_J_CHOICE))) {
            value = NULL;
            break;
        }
        hyb_jparse_advance(p);
        n->a = value;
        value = n;
        if (!(n->b = hyb_jparse_operators(p, HYB_J_BIND_OR))) {
            value = NULL;
            break;
        }
        if (!hyb_jparse_skip_word(p, "else")) continue;
        *slot = n;
        slot = &n->c;
        value = hyb_jparse_operators(p, HYB_J_BIND_OR);
    }
    p->depth++;
    *slot = value;
    return value ? root : NULL;
}
#endif
