/* text/jinja_parse: tokens to a tree. The grammar is Jinja's own, its odd corners included (a ** b ** c is (a ** b) ** c, a filter
 * binds tighter than a sign, every word can be a name where a value is expected). */

typedef enum hybrid__jkind {
    /* expressions */
    HYBRID__J_CONST, HYBRID__J_VARIABLE, HYBRID__J_LIST_OF, HYBRID__J_TUPLE_OF, HYBRID__J_DICT_OF, HYBRID__J_CHOICE,
    /* links of a chain: a is what they stand behind */
    HYBRID__J_NOT, HYBRID__J_NEGATE, HYBRID__J_PLUS, HYBRID__J_BINARY, HYBRID__J_AND, HYBRID__J_OR, HYBRID__J_COMPARE, HYBRID__J_ATTRIBUTE,
    HYBRID__J_ITEM, HYBRID__J_SLICE, HYBRID__J_CALL, HYBRID__J_FILTER, HYBRID__J_TEST,
    /* arguments and parts */
    HYBRID__J_POSITIONAL, HYBRID__J_KEYWORD, HYBRID__J_STAR, HYBRID__J_STARSTAR, HYBRID__J_PART, HYBRID__J_MEMBER,
    /* statements */
    HYBRID__J_OUTPUT_TEXT, HYBRID__J_OUTPUT, HYBRID__J_IF, HYBRID__J_FOR, HYBRID__J_SET, HYBRID__J_SET_BLOCK, HYBRID__J_MACRO, HYBRID__J_CALL_BLOCK,
    HYBRID__J_FILTER_BLOCK, HYBRID__J_WITH, HYBRID__J_BLOCK, HYBRID__J_BREAK, HYBRID__J_CONTINUE
} hybrid__jkind;

/* One node. What a, b, c, d hold by kind:
 *   LIST_OF TUPLE_OF  a: PARTs            DICT_OF  a: MEMBERs (a: key, b: value)      NOT a (flag: an even number)   NEGATE PLUS  a
 *   BINARY AND OR     a, b                COMPARE  a: first, b: PARTs with op         CHOICE  a if b else c
 *   ATTRIBUTE a.name  ITEM a[b]           SLICE    a[b:c:d]                           CALL  a(b)   FILTER  a|name(b)   TEST  a is name(b)
 *   OUTPUT a, b: more PARTs    IF   a: condition, b: then, c: the next IF or the else part (flag)
 *   FOR  a: target, b: items, c: body, d: PART (a: condition, b: else part), flag: recursive
 *   SET  a: target, b: value              SET_BLOCK  a: target, b: filters around NULL, c: body
 *   MACRO name, b: parameters (KEYWORDs, a: default), c: body      CALL_BLOCK  a: CALL, b: parameters, c: body
 *   FILTER_BLOCK  b: filters, c: body     WITH  b: SETs, c: body   BLOCK  c: body with a scope */
struct hybrid__jnode {
    uint8_t kind, op;
    bool    flag;
    uint32_t at;
    hybrid__jnode *next;                 /* in the list it is part of */
    hybrid__jnode *a, *b, *c, *d;
    hybrid__jnode *outer;                /* whose a this is, in a chain a + b.c|d: evaluated from the inside out without recursion */
    hybrid__jstring *name;               /* one string for all uses of a name: names are compared by address */
    hybrid__jvalue   value;
};

static bool hybrid__jinja_repr_function(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v)
{
    const hybrid__jfunction *f = v.u.function;
    if (v.type == HYBRID__J_LOOP) {
        char text[64];
        const hybrid__jloop *loop = v.u.loop;
        snprintf(text, sizeof text, "<LoopContext %lu/%lu>", (unsigned long)loop->i + 1, (unsigned long)loop->items->n);
        return hybrid__jinja_puts(j, b, text);
    }
    if (f->builtin && f->self.type > HYBRID__J_NONE)         /* Python writes an address */
        return hybrid__jinja_puts(j, b, "<built-in method ") && hybrid__jinja_puts(j, b, f->builtin->name) && hybrid__jinja_puts(j, b, " of ")
            && hybrid__jinja_puts(j, b, hybrid__jtype_name(f->self)) && hybrid__jinja_puts(j, b, " object at 0x0>");
    if (f->builtin) return hybrid__jinja_puts(j, b, "<function ") && hybrid__jinja_puts(j, b, f->builtin->name) && hybrid__jinja_put(j, b, ">", 1);
    if (!f->node->name) return hybrid__jinja_puts(j, b, "<Macro None>");
    return hybrid__jinja_puts(j, b, "<Macro ") && hybrid__jinja_repr_string(j, b, f->node->name) && hybrid__jinja_put(j, b, ">", 1);
}

typedef struct hybrid__jparser {
    hybrid__jarena *arena;
    hybrid__jlexer  lex;
    hybrid__jtoken  now, peek;           /* the token at hand, and the one after it */
    hybrid__jdict  *names;
    hybrid_error   *error;
    hybrid_result   result;
    int             depth, loops;        /* nesting left; loops around (for break) */
} hybrid__jparser;

static HYBRID__PRINTF(4, 5) void hybrid__jparse_fail(hybrid__jparser *p, hybrid_result result, size_t at, const char *format, ...)
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
    hybrid__jinja_place(p->lex.source, (size_t)(p->lex.end - p->lex.source), at, &line, &column);
    hybrid__fail_at(p->error, result, at, "template line %u, column %u: %s", line, column, text);
}
static void hybrid__jparse_spent(hybrid__jparser *p)
{
    if (p->arena->result == HYBRID_ERROR_MEMORY) hybrid__jparse_fail(p, HYBRID_ERROR_MEMORY, p->now.at, "out of memory");
    else hybrid__jparse_fail(p, HYBRID_ERROR_LIMIT, p->now.at, "the template is too large");
}

/* From the first error on, every token is the end: all loops of the parser come to their end then. */
static void hybrid__jparse_advance(hybrid__jparser *p)
{
    p->now = p->peek;
    if (!p->result && !hybrid__jlex_next(&p->lex, &p->peek))
        hybrid__jparse_fail(p, p->lex.too_much ? HYBRID_ERROR_LIMIT : HYBRID_ERROR_FORMAT, (size_t)(p->lex.p - p->lex.source), "%s", p->lex.problem);
    if (p->result) { memset(&p->now, 0, sizeof p->now); memset(&p->peek, 0, sizeof p->peek); }
}

/* What stands at hand, for messages. */
static void hybrid__jparse_unexpected(hybrid__jparser *p, const char *wanted)
{
    static const char *const types[] = { "the end of the template", "text", "{{", "}}", "{%", "%}", "", "a string", "a number", "a number", "" };
    char op[4];
    op[0] = (char)(p->now.op > 255 ? p->now.op >> 8 : p->now.op);
    op[1] = (char)(p->now.op > 255 ? p->now.op & 255 : 0);
    op[2] = 0;
    if (p->now.type == HYBRID__J_NAME) hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "%s is expected, not '%.*s'", wanted, (int)HYBRID__MIN(p->now.n, (size_t)60), p->now.p);
    else hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "%s is expected, not %s", wanted, p->now.type == HYBRID__J_OPERATOR ? op : types[p->now.type]);
    hybrid__jparse_advance(p);
}

static bool hybrid__jparse_is_op(const hybrid__jparser *p, int op) { return p->now.type == HYBRID__J_OPERATOR && p->now.op == op; }
static bool hybrid__jparse_is_word(const hybrid__jparser *p, const char *words) { return p->now.type == HYBRID__J_NAME && hybrid__jword(words, p->now.p, p->now.n) >= 0; }
static bool hybrid__jparse_skip_op(hybrid__jparser *p, int op)
{
    if (!hybrid__jparse_is_op(p, op)) return false;
    hybrid__jparse_advance(p);
    return true;
}
static bool hybrid__jparse_skip_word(hybrid__jparser *p, const char *word)
{
    if (!hybrid__jparse_is_word(p, word)) return false;
    hybrid__jparse_advance(p);
    return true;
}
static void hybrid__jparse_want_op(hybrid__jparser *p, int op, const char *shown) { if (!hybrid__jparse_skip_op(p, op)) hybrid__jparse_unexpected(p, shown); }

/* Every recursion of the parser enters here and leaves by p->depth++. */
static bool hybrid__jparse_enter(hybrid__jparser *p)
{
    if (p->result) return false;
    if (!hybrid__jarena_room(p->arena, p->depth)) {
        hybrid__jparse_fail(p, HYBRID_ERROR_LIMIT, p->now.at, "the template is nested too deep");
        hybrid__jparse_advance(p);
        return false;
    }
    p->depth--;
    return true;
}

/* A node at the place of the token at hand; NULL: error set. */
static hybrid__jnode *hybrid__jparse_node(hybrid__jparser *p, hybrid__jkind kind)
{
    hybrid__jnode *n = (hybrid__jnode *)hybrid__jarena_alloc(p->arena, sizeof *n);
    if (!n) { hybrid__jparse_spent(p); hybrid__jparse_advance(p); return NULL; }
    memset(n, 0, sizeof *n);
    n->kind = (uint8_t)kind;
    n->at = p->now.at;
    n->value = hybrid__jnone();
    return n;
}

/* A node whose a is n: the next link of a chain. */
static hybrid__jnode *hybrid__jparse_around(hybrid__jparser *p, hybrid__jkind kind, hybrid__jnode *n)
{
    hybrid__jnode *outer = hybrid__jparse_node(p, kind);
    if (!outer) return NULL;
    outer->a = n;
    if (n) n->outer = outer;
    return outer;
}

/* The one string of a name. */
static hybrid__jstring *hybrid__jparse_intern(hybrid__jparser *p, const char *name, size_t n)
{
    hybrid__jvalue key;
    hybrid__jentry *e;
    if (!hybrid__jstring_view(p->arena, name, n, &key)) { hybrid__jparse_spent(p); return NULL; }
    hybrid__jstring_chars(p->arena, key.u.s);                          /* counted now: several threads may share a template */
    if ((e = hybrid__jdict_find(p->arena, p->names, key)) != NULL) return e->value.u.s;
    if (!hybrid__jdict_set(p->arena, p->names, key, key)) { hybrid__jparse_spent(p); return NULL; }
    return key.u.s;
}
/* A name at hand, taken. */
static hybrid__jstring *hybrid__jparse_name(hybrid__jparser *p)
{
    hybrid__jstring *name;
    if (p->now.type != HYBRID__J_NAME) { hybrid__jparse_unexpected(p, "a name"); return NULL; }
    name = hybrid__jparse_intern(p, p->now.p, p->now.n);
    hybrid__jparse_advance(p);
    return name;
}

/* The escapes of Python's strings; an unknown one stays as it is. Returns the bytes written (at most those read). */
static size_t hybrid__jparse_unescape(const char *p, const char *end, char *out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char *start = out;
    while (p < end) {
        const char *known;
        uint32_t code = 0;
        int digits = 0, most;
        if (*p != '\\' || p + 1 == end) { *out++ = *p++; continue; }
        p++;
        if (*p == '\n') { p++; continue; }
        if (*p && (known = strchr(from, *p)) != NULL) { *out++ = to[known - from]; p++; continue; }
        most = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
        if (most) {
            for (digits = 0; digits < most && p + 1 + digits < end; digits++) {
                char c = p[1 + digits];
                int d = hybrid__is_digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
                if (d < 0) break;
                code = code << 4 | (uint32_t)d;
            }
            if (digits == most) { p += 1 + most; out += hybrid__utf8_write(code, out); continue; }
        } else if (*p >= '0' && *p <= '7') {
            for (; digits < 3 && p < end && *p >= '0' && *p <= '7'; digits++) code = code * 8 + (uint32_t)(*p++ - '0');
            out += hybrid__utf8_write(code, out);
            continue;
        }
        *out++ = '\\';
    }
    return (size_t)(out - start);
}

static hybrid__jnode *hybrid__jparse_const(hybrid__jparser *p, hybrid__jvalue v)
{
    hybrid__jnode *n = hybrid__jparse_node(p, HYBRID__J_CONST);
    if (n) n->value = v;
    return n;
}

/* Neighbouring strings are one. */
static hybrid__jnode *hybrid__jparse_string(hybrid__jparser *p)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jnode *n = hybrid__jparse_node(p, HYBRID__J_CONST);
    while (n && p->now.type == HYBRID__J_STRING_TOKEN) {
        char *text = (char *)hybrid__jarena_alloc(p->arena, p->now.n * 2);    /* \7 is two bytes and makes one; \u0800 makes three */
        if (!text || !hybrid__jbuffer_append(p->arena, &b, text, hybrid__jparse_unescape(p->now.p + 1, p->now.p + p->now.n - 1, text))) { hybrid__jparse_spent(p); return NULL; }
        hybrid__jparse_advance(p);
    }
    if (!n || !hybrid__jstring_buffer(p->arena, &b, &n->value)) { hybrid__jparse_spent(p); return NULL; }
    hybrid__jstring_chars(p->arena, n->value.u.s);
    return n;
}

static hybrid__jnode *hybrid__jparse_expression(hybrid__jparser *p);
static hybrid__jnode *hybrid__jparse_operators(hybrid__jparser *p, int least);

/* How tight operators bind. */
enum { HYBRID__J_BIND_OR = 1, HYBRID__J_BIND_AND, HYBRID__J_BIND_NOT, HYBRID__J_BIND_COMPARE, HYBRID__J_BIND_ADD, HYBRID__J_BIND_TILDE,
    HYBRID__J_BIND_MUL, HYBRID__J_BIND_POW };

static hybrid__jnode *hybrid__jparse_primary(hybrid__jparser *p, bool target);

static bool hybrid__jparse_tuple_ends(const hybrid__jparser *p, const char *stop)
{
    return p->now.type == HYBRID__J_PRINT_END || p->now.type == HYBRID__J_BLOCK_END || p->now.type == HYBRID__J_END || hybrid__jparse_is_op(p, ')')
        || hybrid__jparse_is_word(p, stop);
}

typedef enum hybrid__jtuple { HYBRID__J_FULL, HYBRID__J_NO_CHOICE, HYBRID__J_TARGET } hybrid__jtuple;

/* One expression, or several with commas: a tuple. NO_CHOICE: without "if", TARGET: names to assign to. stop: words that end it. */
static hybrid__jnode *hybrid__jparse_tuple(hybrid__jparser *p, hybrid__jtuple how, const char *stop, bool brackets)
{
    hybrid__jnode *tuple = hybrid__jparse_node(p, HYBRID__J_TUPLE_OF), **tail, *part;
    bool comma = false;
    if (!tuple) return NULL;
    for (tail = &tuple->a; !hybrid__jparse_tuple_ends(p, stop); tail = &part->next) {
        if (!(part = hybrid__jparse_node(p, HYBRID__J_PART))) return NULL;
        part->a = how == HYBRID__J_TARGET ? hybrid__jparse_primary(p, true) : how == HYBRID__J_FULL ? hybrid__jparse_expression(p)
            : hybrid__jparse_operators(p, HYBRID__J_BIND_OR);
        if (!part->a) return NULL;
        *tail = part;
        if (!hybrid__jparse_skip_op(p, ',')) {
            if (!comma) return part->a;
            break;
        }
        comma = true;
    }
    if (!comma && !brackets) { hybrid__jparse_unexpected(p, "an expression"); return NULL; }
    return tuple;
}

/* [a, b] and {a: b} */
static hybrid__jnode *hybrid__jparse_list(hybrid__jparser *p, bool dict)
{
    hybrid__jnode *list = hybrid__jparse_node(p, dict ? HYBRID__J_DICT_OF : HYBRID__J_LIST_OF), **tail, *part;
    int close = dict ? '}' : ']';
    if (!list) return NULL;
    hybrid__jparse_advance(p);
    for (tail = &list->a; !hybrid__jparse_is_op(p, close); tail = &part->next) {
        if (!(part = hybrid__jparse_node(p, dict ? HYBRID__J_MEMBER : HYBRID__J_PART)) || !(part->a = hybrid__jparse_expression(p))) return NULL;
        if (dict) {
            hybrid__jparse_want_op(p, ':', "':'");
            if (!(part->b = hybrid__jparse_expression(p))) return NULL;
        }
        *tail = part;
        if (!hybrid__jparse_skip_op(p, ',')) break;
    }
    hybrid__jparse_want_op(p, close, dict ? "',' or '}'" : "',' or ']'");
    return p->result ? NULL : list;
}

static hybrid__jnode *hybrid__jparse_primary(hybrid__jparser *p, bool target)
{
    hybrid__jnode *n;
    switch (p->now.type) {
    case HYBRID__J_NAME:
        if (hybrid__jparse_is_word(p, "true True")) n = hybrid__jparse_const(p, hybrid__jbool(true));
        else if (hybrid__jparse_is_word(p, "false False")) n = hybrid__jparse_const(p, hybrid__jbool(false));
        else if (hybrid__jparse_is_word(p, "none None")) n = hybrid__jparse_const(p, hybrid__jnone());
        else {
            if (!(n = hybrid__jparse_node(p, HYBRID__J_VARIABLE)) || !(n->name = hybrid__jparse_name(p))) return NULL;
            if (target && hybrid__jparse_is_op(p, '.')) {                     /* a member of a namespace */
                hybrid__jnode *member = hybrid__jparse_node(p, HYBRID__J_ATTRIBUTE);
                hybrid__jparse_advance(p);
                if (!member || !(member->name = hybrid__jparse_name(p))) return NULL;
                member->a = n;
                return member;
            }
            return n;
        }
        hybrid__jparse_advance(p);
        return n;
    case HYBRID__J_STRING_TOKEN: return hybrid__jparse_string(p);
    case HYBRID__J_INT_TOKEN: n = hybrid__jparse_const(p, hybrid__jint(p->now.i)); hybrid__jparse_advance(p); return n;
    case HYBRID__J_FLOAT_TOKEN: n = hybrid__jparse_const(p, hybrid__jfloat(p->now.d)); hybrid__jparse_advance(p); return n;
    default: break;
    }
    if (hybrid__jparse_is_op(p, '(')) {
        if (!hybrid__jparse_enter(p)) return NULL;
        hybrid__jparse_advance(p);
        n = hybrid__jparse_tuple(p, target ? HYBRID__J_TARGET : HYBRID__J_FULL, "", true);
        p->depth++;
        if (!n) return NULL;
        hybrid__jparse_want_op(p, ')', "')'");
        return p->result ? NULL : n;
    }
    if (hybrid__jparse_is_op(p, '[')) return hybrid__jparse_list(p, false);
    if (hybrid__jparse_is_op(p, '{')) return hybrid__jparse_list(p, true);
    hybrid__jparse_unexpected(p, "an expression");
    return NULL;
}

/* (a, *b, name=c, **d), the bracket at hand. False: error. */
static bool hybrid__jparse_args(hybrid__jparser *p, hybrid__jnode **args)
{
    hybrid__jnode *arg, **tail = args;
    int last = HYBRID__J_POSITIONAL;
    hybrid__jparse_advance(p);
    while (!hybrid__jparse_is_op(p, ')')) {
        hybrid__jkind kind = hybrid__jparse_is_op(p, '*') ? HYBRID__J_STAR : hybrid__jparse_is_op(p, '*' * 256 + '*') ? HYBRID__J_STARSTAR
            : p->now.type == HYBRID__J_NAME && p->peek.type == HYBRID__J_OPERATOR && p->peek.op == '=' ? HYBRID__J_KEYWORD : HYBRID__J_POSITIONAL;
        if (!(arg = hybrid__jparse_node(p, kind))) return false;
        if ((kind == HYBRID__J_POSITIONAL && last != HYBRID__J_POSITIONAL) || last == HYBRID__J_STARSTAR) {
            hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "this argument must stand before those with a name or a star");
            return false;
        }
        last = kind;
        if (kind == HYBRID__J_KEYWORD && !(arg->name = hybrid__jparse_name(p))) return false;
        if (kind != HYBRID__J_POSITIONAL) hybrid__jparse_advance(p);
        if (!(arg->a = hybrid__jparse_expression(p))) return false;
        *tail = arg;
        tail = &arg->next;
        if (!hybrid__jparse_skip_op(p, ',')) break;
    }
    hybrid__jparse_want_op(p, ')', "',' or ')'");
    return !p->result;
}

/* What is in the brackets behind a value: an index or a slice. */
static hybrid__jnode *hybrid__jparse_subscript(hybrid__jparser *p, hybrid__jnode *of)
{
    hybrid__jnode *n = hybrid__jparse_around(p, HYBRID__J_ITEM, of);
    if (!n) return NULL;
    hybrid__jparse_advance(p);
    if (!hybrid__jparse_is_op(p, ':') && !(n->b = hybrid__jparse_expression(p))) return NULL;
    if (hybrid__jparse_skip_op(p, ':')) {
        n->kind = HYBRID__J_SLICE;
        if (!hybrid__jparse_is_op(p, ':') && !hybrid__jparse_is_op(p, ']') && !(n->c = hybrid__jparse_expression(p))) return NULL;
        if (hybrid__jparse_skip_op(p, ':') && !hybrid__jparse_is_op(p, ']') && !(n->d = hybrid__jparse_expression(p))) return NULL;
    }
    hybrid__jparse_want_op(p, ']', "']'");
    return p->result ? NULL : n;
}

/* of.name or of.0, the dot at hand */
static hybrid__jnode *hybrid__jparse_member(hybrid__jparser *p, hybrid__jnode *of)
{
    hybrid__jnode *n;
    hybrid__jparse_advance(p);
    n = hybrid__jparse_around(p, p->now.type == HYBRID__J_INT_TOKEN ? HYBRID__J_ITEM : HYBRID__J_ATTRIBUTE, of);
    if (!n) return NULL;
    if (n->kind == HYBRID__J_ATTRIBUTE) return (n->name = hybrid__jparse_name(p)) != NULL ? n : NULL;
    if (!(n->b = hybrid__jparse_const(p, hybrid__jint(p->now.i)))) return NULL;
    hybrid__jparse_advance(p);
    return n;
}

/* of(...), the bracket at hand */
static hybrid__jnode *hybrid__jparse_call(hybrid__jparser *p, hybrid__jnode *of)
{
    hybrid__jnode *n = hybrid__jparse_around(p, HYBRID__J_CALL, of);
    return n && hybrid__jparse_args(p, &n->b) ? n : NULL;
}

static hybrid__jnode *hybrid__jparse_postfix(hybrid__jparser *p, hybrid__jnode *n)
{
    while (n) {
        if (hybrid__jparse_is_op(p, '.')) n = hybrid__jparse_member(p, n);
        else if (hybrid__jparse_is_op(p, '[')) n = hybrid__jparse_subscript(p, n);
        else if (hybrid__jparse_is_op(p, '(')) n = hybrid__jparse_call(p, n);
        else break;
    }
    return n;
}

/* name.more, as filters and tests of extensions are called: one name */
static hybrid__jnode *hybrid__jparse_filter(hybrid__jparser *p, hybrid__jnode *of)
{
    hybrid__jnode *n = hybrid__jparse_around(p, HYBRID__J_FILTER, of);
    if (!n || !(n->name = hybrid__jparse_name(p))) return NULL;
    if (hybrid__jparse_is_op(p, '(') && !hybrid__jparse_args(p, &n->b)) return NULL;
    return n;
}

static hybrid__jnode *hybrid__jparse_test(hybrid__jparser *p, hybrid__jnode *of)
{
    bool negated = hybrid__jparse_skip_word(p, "not");
    hybrid__jnode *n = hybrid__jparse_around(p, HYBRID__J_TEST, of);
    if (!n || !(n->name = hybrid__jparse_name(p))) return NULL;
    if (hybrid__jparse_is_op(p, '(')) {
        if (!hybrid__jparse_args(p, &n->b)) return NULL;
    } else if (hybrid__jparse_is_word(p, "is")) {
        hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "tests cannot be chained with 'is'");
        return NULL;
    } else if (((p->now.type >= HYBRID__J_NAME && p->now.type <= HYBRID__J_FLOAT_TOKEN) || hybrid__jparse_is_op(p, '[')
        || hybrid__jparse_is_op(p, '{')) && !hybrid__jparse_is_word(p, "else or and")) {
        if (!(n->b = hybrid__jparse_node(p, HYBRID__J_POSITIONAL))) return NULL;
        if (!(n->b->a = hybrid__jparse_postfix(p, hybrid__jparse_primary(p, false)))) return NULL;
    }
    return negated ? hybrid__jparse_around(p, HYBRID__J_NOT, n) : n;
}

/* A value with signs before it and filters and tests behind it. Of several signs only their product is kept. */
static hybrid__jnode *hybrid__jparse_unary(hybrid__jparser *p)
{
    hybrid__jnode *n, *sign = NULL;
    if (!hybrid__jparse_enter(p)) return NULL;
    for (; hybrid__jparse_is_op(p, '-') || hybrid__jparse_is_op(p, '+'); hybrid__jparse_advance(p)) {
        if (!sign && !(sign = hybrid__jparse_node(p, HYBRID__J_PLUS))) return NULL;
        if (hybrid__jparse_is_op(p, '-')) sign->kind = sign->kind == HYBRID__J_PLUS ? HYBRID__J_NEGATE : HYBRID__J_PLUS;
    }
    n = hybrid__jparse_postfix(p, hybrid__jparse_primary(p, false));
    if (n && sign) {
        sign->a = n;
        n->outer = sign;
        n = sign;
    }
    while (n) {
        if (hybrid__jparse_skip_op(p, '|')) n = hybrid__jparse_filter(p, n);
        else if (hybrid__jparse_skip_word(p, "is")) n = hybrid__jparse_test(p, n);
        else if (hybrid__jparse_is_op(p, '(')) n = hybrid__jparse_call(p, n);
        else break;
    }
    p->depth++;
    return n;
}

/* How tight the operator at hand binds; 0: it is none. All bind to the left, ** too. */
static int hybrid__jparse_operator(hybrid__jparser *p, hybrid__jkind *kind, hybrid__jop *op)
{
    *kind = HYBRID__J_BINARY;
    if (p->now.type == HYBRID__J_NAME) {
        if (hybrid__jparse_is_word(p, "or")) { *kind = HYBRID__J_OR; return HYBRID__J_BIND_OR; }
        if (hybrid__jparse_is_word(p, "and")) { *kind = HYBRID__J_AND; return HYBRID__J_BIND_AND; }
        *kind = HYBRID__J_COMPARE;
        if (hybrid__jparse_is_word(p, "in")) { *op = HYBRID__J_IN; return HYBRID__J_BIND_COMPARE; }
        if (!hybrid__jparse_is_word(p, "not") || p->peek.type != HYBRID__J_NAME || p->peek.n != 2 || memcmp(p->peek.p, "in", 2)) return 0;
        *op = HYBRID__J_NOT_IN;
        return HYBRID__J_BIND_COMPARE;
    }
    if (p->now.type != HYBRID__J_OPERATOR) return 0;
    switch (p->now.op) {
    case '+': *op = HYBRID__J_ADD; return HYBRID__J_BIND_ADD;
    case '-': *op = HYBRID__J_SUB; return HYBRID__J_BIND_ADD;
    case '~': *op = HYBRID__J_TILDE; return HYBRID__J_BIND_TILDE;
    case '*': *op = HYBRID__J_MUL; return HYBRID__J_BIND_MUL;
    case '/': *op = HYBRID__J_DIV; return HYBRID__J_BIND_MUL;
    case '/' * 256 + '/': *op = HYBRID__J_FLOORDIV; return HYBRID__J_BIND_MUL;
    case '%': *op = HYBRID__J_MOD; return HYBRID__J_BIND_MUL;
    case '*' * 256 + '*': *op = HYBRID__J_POW; return HYBRID__J_BIND_POW;
    case '=' * 256 + '=': *op = HYBRID__J_EQ; break;
    case '!' * 256 + '=': *op = HYBRID__J_NE; break;
    case '<' * 256 + '=': *op = HYBRID__J_LE; break;
    case '>' * 256 + '=': *op = HYBRID__J_GE; break;
    case '<': *op = HYBRID__J_LT; break;
    case '>': *op = HYBRID__J_GT; break;
    default: return 0;
    }
    *kind = HYBRID__J_COMPARE;
    return HYBRID__J_BIND_COMPARE;
}

/* first < b <= c is one node; the first operator is at hand. */
static hybrid__jnode *hybrid__jparse_compare(hybrid__jparser *p, hybrid__jnode *first)
{
    hybrid__jnode *n = hybrid__jparse_around(p, HYBRID__J_COMPARE, first), **tail, *part;
    hybrid__jkind kind;
    hybrid__jop op = HYBRID__J_EQ;
    if (!n) return NULL;
    for (tail = &n->b; hybrid__jparse_operator(p, &kind, &op) == HYBRID__J_BIND_COMPARE; tail = &part->next) {
        if (op == HYBRID__J_NOT_IN) hybrid__jparse_advance(p);
        if (!(part = hybrid__jparse_node(p, HYBRID__J_PART))) return NULL;
        part->op = (uint8_t)op;
        hybrid__jparse_advance(p);
        if (!(part->a = hybrid__jparse_operators(p, HYBRID__J_BIND_ADD))) return NULL;
        *tail = part;
    }
    return n;
}

/* Operands and the operators between them that bind at least as tight as least. */
static hybrid__jnode *hybrid__jparse_operators(hybrid__jparser *p, int least)
{
    hybrid__jnode *n, *outer = NULL;
    hybrid__jkind kind;
    hybrid__jop op = HYBRID__J_ADD;
    int level;
    if (least <= HYBRID__J_BIND_NOT && hybrid__jparse_is_word(p, "not")) {
        if (!(outer = hybrid__jparse_node(p, HYBRID__J_NOT))) return NULL;
        outer->flag = true;
        while (hybrid__jparse_skip_word(p, "not")) outer->flag = !outer->flag;      /* not not not a: only their parity is kept */
        if (!(n = hybrid__jparse_operators(p, HYBRID__J_BIND_COMPARE))) return NULL;
        outer->a = n;
        n->outer = outer;
        n = outer;
    } else if (!(n = hybrid__jparse_unary(p))) {
        return NULL;
    }
    while ((level = hybrid__jparse_operator(p, &kind, &op)) >= least && level) {
        if (kind == HYBRID__J_COMPARE) {
            if (!(n = hybrid__jparse_compare(p, n))) return NULL;
            continue;
        }
        if (!(outer = hybrid__jparse_around(p, kind, n))) return NULL;
        outer->op = (uint8_t)op;
        hybrid__jparse_advance(p);
        if (!(outer->b = hybrid__jparse_operators(p, level + 1))) return NULL;
        n = outer;
    }
    return n;
}

/* a if b else c; without else it is undefined. A chain of else is one loop, here and when it is evaluated. */
static hybrid__jnode *hybrid__jparse_expression(hybrid__jparser *p)
{
    hybrid__jnode *root = NULL, **slot = &root, *value, *n;
    if (!hybrid__jparse_enter(p)) return NULL;
    value = hybrid__jparse_operators(p, HYBRID__J_BIND_OR);
    while (value && hybrid__jparse_is_word(p, "if")) {
        if (!(n = hybrid__jparse_node(p, HYBRID__J_CHOICE))) { value = NULL; break; }
        hybrid__jparse_advance(p);
        n->a = value;
        value = n;
        if (!(n->b = hybrid__jparse_operators(p, HYBRID__J_BIND_OR))) { value = NULL; break; }
        if (!hybrid__jparse_skip_word(p, "else")) continue;
        *slot = n;
        slot = &n->c;
        value = hybrid__jparse_operators(p, HYBRID__J_BIND_OR);
    }
    p->depth++;
    *slot = value;
    return value ? root : NULL;
}
