/* text/jinja_print: the state of one render, its errors, and values as text: str, repr and JSON. */

typedef struct hybrid__jnode  hybrid__jnode;
typedef struct hybrid__jscope hybrid__jscope;
typedef struct hybrid__jtree  hybrid__jtree;

typedef struct hybrid__jinja {
    hybrid__jarena   arena;
    const char      *source;             /* of the template, newlines made "\n" */
    size_t           n_source;
    uint32_t         at;                 /* place in source of what is being computed */
    hybrid_error    *error;
    hybrid_result    result;
    hybrid__jbuffer *out;                /* where output goes: the render's, or that of a macro or a block that is being captured */
    hybrid__jbuffer  page;
    size_t           max_output;
    int              depth;              /* levels left */
    bool             js;                 /* HYBRID_TEMPLATE_JS */
    int64_t          now;                /* seconds since 1970, in the wanted time zone */
    hybrid__jdict   *context;
    const hybrid__jtree *tree;
} hybrid__jinja;

static void hybrid__jinja_place(const char *source, size_t n, size_t at, unsigned *line, unsigned *column)
{
    const char *p, *start = source, *end = source + HYBRID__MIN(at, n);
    *line = 1;
    for (p = source; p < end; p++) if (*p == '\n') { (*line)++; start = p + 1; }
    for (*column = 1, p = start; p < end; p++) *column += ((unsigned char)*p & 0xC0) != 0x80;
}

/* Keeps the first failure, with its place. Always false. */
static HYBRID__PRINTF(3, 4) bool hybrid__jinja_fail(hybrid__jinja *j, hybrid_result result, const char *format, ...)
{
    char text[256];
    unsigned line, column;
    va_list args;
    if (j->result) return false;
    j->result = result;
    if (!j->error) return false;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hybrid__jinja_place(j->source, j->n_source, j->at, &line, &column);
    hybrid__fail_at(j->error, result, j->at, "template line %u, column %u: %s", line, column, text);
    return false;
}

/* After a value function returned false: says why. Always false. */
static bool hybrid__jinja_spent(hybrid__jinja *j)
{
    if (j->arena.result == HYBRID_ERROR_MEMORY) return hybrid__jinja_fail(j, HYBRID_ERROR_MEMORY, "out of memory");
    if (j->arena.deep)
        return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "nested deeper than max_depth or the stack allows (does it refer to itself?)");
    if (j->arena.result && !j->arena.steps) return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "the template takes more steps than max_steps allows");
    if (j->arena.result) return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "the template needs more memory than max_memory allows");
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "this value cannot be a key of a dict");
}
static bool hybrid__jinja_check(hybrid__jinja *j, bool ok) { return ok ? true : hybrid__jinja_spent(j); }

/* Every recursion over a template or its values enters here and leaves by j->depth++. */
static bool hybrid__jinja_enter(hybrid__jinja *j)
{
    if (!hybrid__jarena_work(&j->arena, 1) || !hybrid__jarena_room(&j->arena, j->depth)) return hybrid__jinja_spent(j);
    j->depth--;
    return true;
}

/* The name of a value's type, as a Python programmer knows it. */
static const char *hybrid__jtype_name(hybrid__jvalue v)
{
    static const char *const names[] = { "Undefined", "NoneType", "bool", "int", "float", "int", "str", "list", "dict", "Namespace", "function", "LoopContext", "?" };
    if (v.type == HYBRID__J_STRING && v.mark) return "Markup";
    if (v.type == HYBRID__J_LIST && v.u.list->kind == HYBRID__J_TUPLE) return "tuple";
    if (v.type == HYBRID__J_LIST && v.u.list->kind == HYBRID__J_RANGE) return "range";
    if (v.type == HYBRID__J_LIST && v.u.list->kind == HYBRID__J_ITERATOR) return "generator";
    if (v.type == HYBRID__J_LIST && v.u.list->kind == HYBRID__J_VIEW) return v.u.list->label;
    return names[v.type];
}

/* "'x' is undefined". Always false. */
static bool hybrid__jinja_undefined(hybrid__jinja *j, hybrid__jvalue v)
{
    int n = v.u.s ? (int)HYBRID__MIN(v.u.s->n, (size_t)80) : 0;
    if (!v.u.s) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "a value that is undefined is used");
    if (v.mark) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "the attribute '%.*s' is used, but the object has none", n, v.u.s->p);
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "'%.*s' is undefined", n, v.u.s->p);
}

/* ---- text of values ---- */

static bool hybrid__jinja_put(hybrid__jinja *j, hybrid__jbuffer *b, const char *p, size_t n)
{
    if (b == &j->page && n > j->max_output - b->size) return hybrid__jinja_fail(j, HYBRID_ERROR_LIMIT, "the output is longer than max_output allows");
    return hybrid__jbuffer_append(&j->arena, b, p, n) || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_puts(hybrid__jinja *j, hybrid__jbuffer *b, const char *text) { return hybrid__jinja_put(j, b, text, strlen(text)); }

/* A hybrid_write_fn over a buffer. */
typedef struct hybrid__jsink { hybrid__jinja *j; hybrid__jbuffer *b; } hybrid__jsink;
static bool hybrid__jsink_write(void *user, const void *data, size_t n)
{
    hybrid__jsink *sink = (hybrid__jsink *)user;
    return hybrid__jinja_put(sink->j, sink->b, (const char *)data, n);
}

/* What Python's repr shows as itself: no controls, no spaces but one, nothing that is not assigned. */
static bool hybrid__jprintable(uint32_t c)
{
    unsigned k;
    if (c < 0x7F) return c >= 0x20;
    k = hybrid__unicode_class(c);
    return k != HYBRID__CHAR_OTHER && k != HYBRID__CHAR_SPACE && k != HYBRID__CHAR_NEWLINE;
}

/* 'text' as Python's repr: double quotes only when that spares escapes. */
static bool hybrid__jinja_repr_string(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jstring *s)
{
    const char *p = s->p, *end = p + s->n;
    char quote = s->n && memchr(p, '\'', s->n) && !memchr(p, '"', s->n) ? '"' : '\'', out[16];
    if (!hybrid__jinja_put(j, b, &quote, 1)) return false;
    while (p < end) {
        uint32_t c;
        size_t used = hybrid__utf8_read(p, end, &c), made;
        if (!used) { used = 1; c = (unsigned char)*p; made = (size_t)snprintf(out, sizeof out, "\\x%02x", (unsigned)c); }
        else if (c == (uint32_t)quote || c == '\\') { out[0] = '\\'; out[1] = (char)c; made = 2; }
        else if (c == '\n' || c == '\r' || c == '\t') { out[0] = '\\'; out[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't'; made = 2; }
        else if (hybrid__jprintable(c)) { memcpy(out, p, used); made = used; }
        else made = (size_t)snprintf(out, sizeof out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        if (!hybrid__jinja_put(j, b, out, made)) return false;
        p += used;
    }
    return hybrid__jinja_put(j, b, &quote, 1);
}

static bool hybrid__jinja_repr(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v);
static bool hybrid__jinja_repr_function(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v);    /* knows macros: jinja_parse */

static bool hybrid__jinja_repr_list(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jlist *l)
{
    bool tuple = l->kind == HYBRID__J_TUPLE && !j->js;
    char text[100];
    size_t i;
    if (l->kind == HYBRID__J_RANGE && !j->js) {
        const hybrid__jspan *r = l->span;
        snprintf(text, sizeof text, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
        if (!hybrid__jinja_puts(j, b, text)) return false;
        snprintf(text, sizeof text, r->step == 1 ? ")" : ", %lld)", (long long)r->step);
        return hybrid__jinja_puts(j, b, text);
    }
    if (l->kind == HYBRID__J_ITERATOR && !j->js) {           /* Python writes its address */
        snprintf(text, sizeof text, "<%.60s at 0x0>", l->label ? l->label : "generator object");
        return hybrid__jinja_puts(j, b, text);
    }
    if (l->label && !j->js && (!hybrid__jinja_puts(j, b, l->label) || !hybrid__jinja_put(j, b, "(", 1))) return false;
    if (!hybrid__jinja_put(j, b, tuple ? "(" : "[", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hybrid__jinja_put(j, b, ", ", 2)) || !hybrid__jinja_repr(j, b, l->items[i])) return false;
    if (tuple && l->n == 1 && !hybrid__jinja_put(j, b, ",", 1)) return false;
    return hybrid__jinja_put(j, b, tuple ? ")" : "]", 1) && (!l->label || j->js || hybrid__jinja_put(j, b, ")", 1));
}

static bool hybrid__jinja_repr_dict(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jdict *d)
{
    uint32_t i;
    if (!hybrid__jinja_put(j, b, "{", 1)) return false;
    for (i = 0; i < d->n; i++)
        if ((i && !hybrid__jinja_put(j, b, ", ", 2)) || !hybrid__jinja_repr(j, b, d->entries[i].key) || !hybrid__jinja_put(j, b, ": ", 2)
            || !hybrid__jinja_repr(j, b, d->entries[i].value)) return false;
    return hybrid__jinja_put(j, b, "}", 1);
}

/* What {{ v }} prints; in the JS dialect constants are spelled as there. */
static bool hybrid__jinja_str(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v)
{
    char text[40];
    switch (v.type) {
    case HYBRID__J_UNDEFINED: return true;
    case HYBRID__J_NONE: return hybrid__jinja_puts(j, b, j->js ? "null" : "None");
    case HYBRID__J_BOOL: return hybrid__jinja_puts(j, b, j->js ? (v.u.b ? "true" : "false") : (v.u.b ? "True" : "False"));
    case HYBRID__J_INT: return hybrid__jinja_put(j, b, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v.u.i));
    case HYBRID__J_FLOAT: return hybrid__jinja_put(j, b, text, hybrid__decimal_write(v.u.d, text));
    case HYBRID__J_BIG: case HYBRID__J_STRING: return hybrid__jinja_put(j, b, v.u.s->p, v.u.s->n);
    default: return hybrid__jinja_repr(j, b, v);
    }
}

/* How v is shown inside a container: strings in quotes. */
static bool hybrid__jinja_repr(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v)
{
    hybrid__jsink sink;
    bool ok;
    if (!hybrid__jinja_enter(j)) return false;
    switch (v.type) {
    case HYBRID__J_UNDEFINED: ok = hybrid__jinja_puts(j, b, j->js ? "undefined" : "Undefined"); break;
    case HYBRID__J_STRING:
        sink.j = j; sink.b = b;
        ok = (!v.mark || hybrid__jinja_put(j, b, "Markup(", 7))
            && (j->js ? hybrid__json_quote(v.u.s->p, v.u.s->n, false, hybrid__jsink_write, &sink) : hybrid__jinja_repr_string(j, b, v.u.s))
            && (!v.mark || hybrid__jinja_put(j, b, ")", 1));
        break;
    case HYBRID__J_LIST: ok = hybrid__jinja_repr_list(j, b, v.u.list); break;
    case HYBRID__J_DICT: ok = hybrid__jinja_repr_dict(j, b, v.u.dict); break;
    case HYBRID__J_NAMESPACE:
        ok = hybrid__jinja_puts(j, b, "<Namespace ") && hybrid__jinja_repr_dict(j, b, v.u.dict) && hybrid__jinja_put(j, b, ">", 1);
        break;
    case HYBRID__J_FUNCTION: case HYBRID__J_LOOP: ok = hybrid__jinja_repr_function(j, b, v); break;
    default: ok = hybrid__jinja_str(j, b, v); break;
    }
    j->depth++;
    return ok;
}

/* repr, or ascii: everything else as escapes. */
static bool hybrid__jinja_repr_as(hybrid__jinja *j, hybrid__jbuffer *b, hybrid__jvalue v, bool ascii)
{
    hybrid__jbuffer all = { NULL, 0, 0 };
    const char *p, *end;
    if (!ascii) return hybrid__jinja_repr(j, b, v);
    if (!hybrid__jinja_repr(j, &all, v)) return false;
    for (p = all.data, end = p + all.size; p < end; ) {
        char text[16];
        uint32_t c;
        size_t n = hybrid__utf8_next(p, end, &c);
        if (c < 0x80) { if (!hybrid__jinja_put(j, b, p, n)) return false; }
        else {
            snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
            if (!hybrid__jinja_puts(j, b, text)) return false;
        }
        p += n;
    }
    return true;
}

/* v as a string value; a string is itself. */
static bool hybrid__jinja_to_string(hybrid__jinja *j, hybrid__jvalue v, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    if (v.type == HYBRID__J_STRING) { *out = v; return true; }
    return hybrid__jinja_str(j, &b, v) && hybrid__jinja_check(j, hybrid__jstring_buffer(&j->arena, &b, out));
}

/* ---- JSON ---- */

typedef struct hybrid__jformat {
    const char *comma, *colon;
    size_t      n_comma, n_colon;
    const char *indent;                  /* one level; NULL: all on one line */
    size_t      n_indent;
    bool        ascii, sort;
} hybrid__jformat;

static bool hybrid__jinja_json_break(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, int level)
{
    if (!f->indent) return true;
    if (!hybrid__jinja_put(j, b, "\n", 1)) return false;
    for (; level > 0; level--) if (!hybrid__jinja_put(j, b, f->indent, f->n_indent)) return false;
    return true;
}

/* Keys are strings in JSON: numbers, booleans and None become theirs. */
static bool hybrid__jinja_json_key(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, hybrid__jvalue key)
{
    char text[40];
    hybrid__jsink sink;
    size_t n;
    sink.j = j; sink.b = b;
    switch (key.type) {
    case HYBRID__J_STRING: return hybrid__json_quote(key.u.s->p, key.u.s->n, f->ascii, hybrid__jsink_write, &sink);
    case HYBRID__J_NONE: return hybrid__jinja_puts(j, b, "\"null\"");
    case HYBRID__J_BOOL: return hybrid__jinja_puts(j, b, key.u.b ? "\"true\"" : "\"false\"");
    case HYBRID__J_INT: n = (size_t)snprintf(text, sizeof text, "%lld", (long long)key.u.i); break;
    case HYBRID__J_BIG: return hybrid__json_quote(key.u.s->p, key.u.s->n, false, hybrid__jsink_write, &sink);
    case HYBRID__J_FLOAT: n = hybrid__json_real(key.u.d, text); break;
    default: return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be a key in JSON", hybrid__jtype_name(key));
    }
    return hybrid__jinja_put(j, b, "\"", 1) && hybrid__jinja_put(j, b, text, n) && hybrid__jinja_put(j, b, "\"", 1);
}

static bool hybrid__jinja_sort_keys(hybrid__jinja *j, const hybrid__jdict *d, hybrid__jlist **keys);

static bool hybrid__jinja_json(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, hybrid__jvalue v, int level);

static bool hybrid__jinja_json_list(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, const hybrid__jlist *l, int level)
{
    size_t i;
    if (!l->n) return hybrid__jinja_put(j, b, "[]", 2);
    if (!hybrid__jinja_put(j, b, "[", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hybrid__jinja_put(j, b, f->comma, f->n_comma)) || !hybrid__jinja_json_break(j, b, f, level + 1)
            || !hybrid__jinja_json(j, b, f, l->items[i], level + 1)) return false;
    return hybrid__jinja_json_break(j, b, f, level) && hybrid__jinja_put(j, b, "]", 1);
}

static bool hybrid__jinja_json_dict(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, const hybrid__jdict *d, int level)
{
    hybrid__jlist *sorted = NULL;
    uint32_t i;
    if (!d->n) return hybrid__jinja_put(j, b, "{}", 2);
    if (f->sort && !hybrid__jinja_sort_keys(j, d, &sorted)) return false;
    if (!hybrid__jinja_put(j, b, "{", 1)) return false;
    for (i = 0; i < d->n; i++) {
        const hybrid__jentry *e = sorted ? hybrid__jdict_find(&j->arena, d, sorted->items[i]) : &d->entries[i];
        if (!e) return hybrid__jinja_spent(j);
        if ((i && !hybrid__jinja_put(j, b, f->comma, f->n_comma)) || !hybrid__jinja_json_break(j, b, f, level + 1)
            || !hybrid__jinja_json_key(j, b, f, e->key) || !hybrid__jinja_put(j, b, f->colon, f->n_colon)
            || !hybrid__jinja_json(j, b, f, e->value, level + 1)) return false;
    }
    return hybrid__jinja_json_break(j, b, f, level) && hybrid__jinja_put(j, b, "}", 1);
}

/* As Python's json.dumps. */
static bool hybrid__jinja_json(hybrid__jinja *j, hybrid__jbuffer *b, const hybrid__jformat *f, hybrid__jvalue v, int level)
{
    char text[40];
    hybrid__jsink sink;
    bool ok;
    if (!hybrid__jinja_enter(j)) return false;
    sink.j = j; sink.b = b;
    switch (v.type) {
    case HYBRID__J_NONE: ok = hybrid__jinja_puts(j, b, "null"); break;
    case HYBRID__J_BOOL: ok = hybrid__jinja_puts(j, b, v.u.b ? "true" : "false"); break;
    case HYBRID__J_FLOAT: ok = hybrid__jinja_put(j, b, text, hybrid__json_real(v.u.d, text)); break;
    case HYBRID__J_INT: case HYBRID__J_BIG: ok = hybrid__jinja_str(j, b, v); break;
    case HYBRID__J_STRING: ok = hybrid__json_quote(v.u.s->p, v.u.s->n, f->ascii, hybrid__jsink_write, &sink); break;
    case HYBRID__J_LIST:
        ok = j->js || v.u.list->kind <= HYBRID__J_TUPLE ? hybrid__jinja_json_list(j, b, f, v.u.list, level)
            : hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be written as JSON", hybrid__jtype_name(v));
        break;
    case HYBRID__J_DICT: ok = hybrid__jinja_json_dict(j, b, f, v.u.dict, level); break;
    case HYBRID__J_UNDEFINED:
        if (j->js) { ok = hybrid__jinja_puts(j, b, "null"); break; }
        ok = hybrid__jinja_undefined(j, v);
        break;
    default: ok = hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be written as JSON", hybrid__jtype_name(v)); break;
    }
    j->depth++;
    return ok;
}
