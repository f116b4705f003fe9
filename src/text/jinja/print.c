/* text/jinja/print: the state of one render, its errors, and values as text: str, repr and JSON. */
#ifndef HYB_TEXT_JINJA_PRINT_C
#define HYB_TEXT_JINJA_PRINT_C
#include "../unicode.c"
#include "dict.c"

typedef struct hyb_jnode hyb_jnode;
typedef struct hyb_jscope hyb_jscope;
typedef struct hyb_jtree hyb_jtree;

typedef struct hyb_jinja {
    hyb_jarena arena;
    const char *source; /* of the template, newlines made "\n" */
    size_t n_source;
    uint32_t at; /* place in source of what is being computed */
    hybrid_error *error;
    hybrid_result result;
    hyb_jbuffer *out; /* where output goes: the render's, or that of a macro or a block that is being captured */
    hyb_jbuffer page;
    size_t max_output;
    int depth;   /* levels left */
    bool js;     /* HYBRID_TEMPLATE_JS */
    int64_t now; /* seconds since 1970, in the wanted time zone */
    hyb_jdict *context;
    const hyb_jtree *tree;
} hyb_jinja;

static void hyb_jinja_place(const char *source, size_t n, size_t at, unsigned *line, unsigned *column)
{
    const char *p, *start = source, *end = source + HYB_MIN(at, n);
    *line = 1;
    for (p = source; p < end; p++)
        if (*p == '\n') {
            (*line)++;
            start = p + 1;
        }
    for (*column = 1, p = start; p < end; p++) *column += ((unsigned char)*p & 0xC0) != 0x80;
}

/* Keeps the first failure, with its place. Always false. */
static HYB_PRINTF(3, 4) bool hyb_jinja_fail(hyb_jinja *j, hybrid_result result, const char *format, ...)
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
    hyb_jinja_place(j->source, j->n_source, j->at, &line, &column);
    hyb_fail_at(j->error, result, j->at, "template line %u, column %u: %s", line, column, text);
    return false;
}

/* After a value function returned false: says why. Always false. */
static bool hyb_jinja_spent(hyb_jinja *j)
{
    if (j->arena.result == HYBRID_ERROR_MEMORY) return hyb_jinja_fail(j, HYBRID_ERROR_MEMORY, "out of memory");
    if (j->arena.deep)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT,
                              "nested deeper than max_depth or the stack allows (does it refer to itself?)");
    if (j->arena.result && !j->arena.steps)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "the template takes more steps than max_steps allows");
    if (j->arena.result)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "the template needs more memory than max_memory allows");
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "this value cannot be a key of a dict");
}
static bool hyb_jinja_check(hyb_jinja *j, bool ok) { return ok ? true : hyb_jinja_spent(j); }

/* Every recursion over a template or its values enters here and leaves by j->depth++. */
static bool hyb_jinja_enter(hyb_jinja *j)
{
    if (!hyb_jarena_work(&j->arena, 1) || !hyb_jarena_room(&j->arena, j->depth)) return hyb_jinja_spent(j);
    j->depth--;
    return true;
}

/* The name of a value's type, as a Python programmer knows it. */
static const char *hyb_jtype_name(hyb_jvalue v)
{
    static const char *const names[] = { "Undefined", "NoneType", "bool",      "int",      "float",       "int", "str",
                                         "list",      "dict",     "Namespace", "function", "LoopContext", "?" };
    if (v.type == HYB_J_STRING && v.mark) return "Markup";
    if (v.type == HYB_J_LIST && v.u.list->kind == HYB_J_TUPLE) return "tuple";
    if (v.type == HYB_J_LIST && v.u.list->kind == HYB_J_RANGE) return "range";
    if (v.type == HYB_J_LIST && v.u.list->kind == HYB_J_ITERATOR) return "generator";
    if (v.type == HYB_J_LIST && v.u.list->kind == HYB_J_VIEW) return v.u.list->label;
    return names[v.type];
}

/* "'x' is undefined". Always false. */
static bool hyb_jinja_undefined(hyb_jinja *j, hyb_jvalue v)
{
    int n = v.u.s ? (int)HYB_MIN(v.u.s->n, (size_t)80) : 0;
    if (!v.u.s) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "a value that is undefined is used");
    if (v.mark)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "the attribute '%.*s' is used, but the object has none", n,
                              v.u.s->p);
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "'%.*s' is undefined", n, v.u.s->p);
}

/* ---- text of values ---------------------------------------------------------------------------------------------- */

static bool hyb_jinja_put(hyb_jinja *j, hyb_jbuffer *b, const char *p, size_t n)
{
    if (b == &j->page && n > j->max_output - b->size)
        return hyb_jinja_fail(j, HYBRID_ERROR_LIMIT, "the output is longer than max_output allows");
    return hyb_jbuffer_append(&j->arena, b, p, n) || hyb_jinja_spent(j);
}
static bool hyb_jinja_puts(hyb_jinja *j, hyb_jbuffer *b, const char *text)
{
    return hyb_jinja_put(j, b, text, strlen(text));
}

/* What is made of [of, of + n_of) is whose that is. */
static bool hyb_jinja_put_for(hyb_jinja *j, hyb_jbuffer *b, const char *p, size_t n, const char *of, size_t n_of)
{
    if (!hyb_jinja_put(j, b, p, n)) return false;
    if (hyb_jown(&j->arena, of, n_of)) hyb_jown_set(&j->arena, b->data + b->size - n, n);
    return true;
}

/* A hybrid_write_fn over a buffer. */
typedef struct hyb_jsink {
    hyb_jinja *j;
    hyb_jbuffer *b;
} hyb_jsink;
static bool hyb_jsink_write(void *user, const void *data, size_t n)
{
    hyb_jsink *sink = (hyb_jsink *)user;
    return hyb_jinja_put(sink->j, sink->b, (const char *)data, n);
}

/* What Python's repr shows as itself: no controls, no spaces but one, nothing that is not assigned. */
static bool hyb_jprintable(uint32_t c)
{
    unsigned k;
    if (c < 0x7F) return c >= 0x20;
    k = hyb_unicode_class(c);
    return k != HYB_CHAR_OTHER && k != HYB_CHAR_SPACE && k != HYB_CHAR_NEWLINE;
}

/* 'text' as Python's repr: double quotes only when that spares escapes. */
static bool hyb_jinja_repr_string(hyb_jinja *j, hyb_jbuffer *b, const hyb_jstring *s)
{
    const char *p = s->p, *end = p + s->n;
    char quote = s->n && memchr(p, '\'', s->n) && !memchr(p, '"', s->n) ? '"' : '\'', out[16];
    if (!hyb_jinja_put(j, b, &quote, 1)) return false;
    while (p < end) {
        const char *piece = out;
        uint32_t c;
        size_t used = hyb_utf8_read(p, end, &c), made;
        if (!used) {
            used = 1;
            c = (unsigned char)*p;
            made = (size_t)snprintf(out, sizeof out, "\\x%02x", (unsigned)c);
        } else if (c == (uint32_t)quote || c == '\\') {
            out[0] = '\\';
            out[1] = (char)c;
            made = 2;
        } else if (c == '\n' || c == '\r' || c == '\t') {
            out[0] = '\\';
            out[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
            made = 2;
        } else if (hyb_jprintable(c)) {
            piece = p;
            made = used;
        } else
            made = (size_t)snprintf(out, sizeof out,
                                    c < 0x100     ? "\\x%02x"
                                    : c < 0x10000 ? "\\u%04x"
                                                  : "\\U%08x",
                                    (unsigned)c);
        if (!hyb_jinja_put(j, b, piece, made)) return false;
        p += used;
    }
    return hyb_jinja_put(j, b, &quote, 1);
}

static bool hyb_jinja_repr(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v);
static bool hyb_jinja_repr_function(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v); /* knows macros: jinja_parse */

static bool hyb_jinja_repr_list(hyb_jinja *j, hyb_jbuffer *b, const hyb_jlist *l)
{
    bool tuple = l->kind == HYB_J_TUPLE && !j->js;
    char text[100];
    size_t i;
    if (l->kind == HYB_J_RANGE && !j->js) {
        const hyb_jspan *r = l->span;
        snprintf(text, sizeof text, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
        if (!hyb_jinja_puts(j, b, text)) return false;
        snprintf(text, sizeof text, r->step == 1 ? ")" : ", %lld)", (long long)r->step);
        return hyb_jinja_puts(j, b, text);
    }
    if (l->kind == HYB_J_ITERATOR && !j->js) { /* Python writes its address */
        snprintf(text, sizeof text, "<%.60s at 0x0>", l->label ? l->label : "generator object");
        return hyb_jinja_puts(j, b, text);
    }
    if (l->label && !j->js && (!hyb_jinja_puts(j, b, l->label) || !hyb_jinja_put(j, b, "(", 1))) return false;
    if (!hyb_jinja_put(j, b, tuple ? "(" : "[", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hyb_jinja_put(j, b, ", ", 2)) || !hyb_jinja_repr(j, b, l->items[i])) return false;
    if (tuple && l->n == 1 && !hyb_jinja_put(j, b, ",", 1)) return false;
    return hyb_jinja_put(j, b, tuple ? ")" : "]", 1) && (!l->label || j->js || hyb_jinja_put(j, b, ")", 1));
}

static bool hyb_jinja_repr_dict(hyb_jinja *j, hyb_jbuffer *b, const hyb_jdict *d)
{
    uint32_t i;
    if (!hyb_jinja_put(j, b, "{", 1)) return false;
    for (i = 0; i < d->n; i++)
        if ((i && !hyb_jinja_put(j, b, ", ", 2)) || !hyb_jinja_repr(j, b, d->entries[i].key) ||
            !hyb_jinja_put(j, b, ": ", 2) || !hyb_jinja_repr(j, b, d->entries[i].value))
            return false;
    return hyb_jinja_put(j, b, "}", 1);
}

/* What {{ v }} prints; in the JS dialect constants are spelled as there. */
static bool hyb_jinja_str(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v)
{
    char text[40];
    switch (v.type) {
    case HYB_J_UNDEFINED: return true;
    case HYB_J_NONE: return hyb_jinja_puts(j, b, j->js ? "null" : "None");
    case HYB_J_BOOL: return hyb_jinja_puts(j, b, j->js ? (v.u.b ? "true" : "false") : (v.u.b ? "True" : "False"));
    case HYB_J_INT: /* <|image_1|>: a number that the template counted belongs to its words */
        if (!hyb_jinja_put(j, b, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v.u.i))) return false;
        if (!v.mark) hyb_jown_set(&j->arena, b->data + b->size - strlen(text), strlen(text));
        return true;
    case HYB_J_FLOAT: return hyb_jinja_put(j, b, text, hyb_decimal_write(v.u.d, text));
    case HYB_J_BIG:
    case HYB_J_STRING: return hyb_jinja_put(j, b, v.u.s->p, v.u.s->n);
    default: return hyb_jinja_repr(j, b, v);
    }
}

/* How v is shown inside a container: strings in quotes. */
static bool hyb_jinja_repr(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v)
{
    hyb_jsink sink;
    bool ok;
    if (!hyb_jinja_enter(j)) return false;
    switch (v.type) {
    case HYB_J_UNDEFINED: ok = hyb_jinja_puts(j, b, j->js ? "undefined" : "Undefined"); break;
    case HYB_J_STRING:
        sink.j = j;
        sink.b = b;
        ok = (!v.mark || hyb_jinja_put(j, b, "Markup(", 7)) &&
             (j->js ? hyb_json_quote(v.u.s->p, v.u.s->n, false, hyb_jsink_write, &sink)
                    : hyb_jinja_repr_string(j, b, v.u.s)) &&
             (!v.mark || hyb_jinja_put(j, b, ")", 1));
        break;
    case HYB_J_LIST: ok = hyb_jinja_repr_list(j, b, v.u.list); break;
    case HYB_J_DICT: ok = hyb_jinja_repr_dict(j, b, v.u.dict); break;
    case HYB_J_NAMESPACE:
        ok = hyb_jinja_puts(j, b, "<Namespace ") && hyb_jinja_repr_dict(j, b, v.u.dict) && hyb_jinja_put(j, b, ">", 1);
        break;
    case HYB_J_FUNCTION:
    case HYB_J_LOOP: ok = hyb_jinja_repr_function(j, b, v); break;
    default: ok = hyb_jinja_str(j, b, v); break;
    }
    j->depth++;
    return ok;
}

/* repr, or ascii: everything else as escapes. */
static bool hyb_jinja_repr_as(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, bool ascii)
{
    hyb_jbuffer all = { NULL, 0, 0 };
    const char *p, *end;
    if (!ascii) return hyb_jinja_repr(j, b, v);
    if (!hyb_jinja_repr(j, &all, v)) return false;
    for (p = all.data, end = p + all.size; p < end;) {
        char text[16];
        uint32_t c;
        size_t n = hyb_utf8_next(p, end, &c);
        if (c < 0x80) {
            if (!hyb_jinja_put(j, b, p, n)) return false;
        } else {
            snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
            if (!hyb_jinja_puts(j, b, text)) return false;
        }
        p += n;
    }
    return true;
}

/* v as a string value; a string is itself. */
static bool hyb_jinja_to_string(hyb_jinja *j, hyb_jvalue v, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    if (v.type == HYB_J_STRING) {
        *out = v;
        return true;
    }
    return hyb_jinja_str(j, &b, v) && hyb_jinja_check(j, hyb_jstring_buffer(&j->arena, &b, out));
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

typedef struct hyb_jformat {
    const char *comma, *colon;
    size_t n_comma, n_colon;
    const char *indent; /* one level; NULL: all on one line */
    size_t n_indent;
    bool ascii, sort;
} hyb_jformat;

static bool hyb_jinja_json_break(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, int level)
{
    if (!f->indent) return true;
    if (!hyb_jinja_put(j, b, "\n", 1)) return false;
    for (; level > 0; level--)
        if (!hyb_jinja_put(j, b, f->indent, f->n_indent)) return false;
    return true;
}

/* Keys are strings in JSON: numbers, booleans and None become theirs. */
static bool hyb_jinja_json_key(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, hyb_jvalue key)
{
    char text[40];
    hyb_jsink sink;
    size_t n;
    sink.j = j;
    sink.b = b;
    switch (key.type) {
    case HYB_J_STRING: return hyb_json_quote(key.u.s->p, key.u.s->n, f->ascii, hyb_jsink_write, &sink);
    case HYB_J_NONE: return hyb_jinja_puts(j, b, "\"null\"");
    case HYB_J_BOOL: return hyb_jinja_puts(j, b, key.u.b ? "\"true\"" : "\"false\"");
    case HYB_J_INT: n = (size_t)snprintf(text, sizeof text, "%lld", (long long)key.u.i); break;
    case HYB_J_BIG: return hyb_json_quote(key.u.s->p, key.u.s->n, false, hyb_jsink_write, &sink);
    case HYB_J_FLOAT: n = hyb_json_real(key.u.d, text); break;
    default: return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be a key in JSON", hyb_jtype_name(key));
    }
    return hyb_jinja_put(j, b, "\"", 1) && hyb_jinja_put(j, b, text, n) && hyb_jinja_put(j, b, "\"", 1);
}

static bool hyb_jinja_sort_keys(hyb_jinja *j, const hyb_jdict *d, hyb_jlist **keys);

static bool hyb_jinja_json(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, hyb_jvalue v, int level);

static bool hyb_jinja_json_list(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, const hyb_jlist *l, int level)
{
    size_t i;
    if (!l->n) return hyb_jinja_put(j, b, "[]", 2);
    if (!hyb_jinja_put(j, b, "[", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hyb_jinja_put(j, b, f->comma, f->n_comma)) || !hyb_jinja_json_break(j, b, f, level + 1) ||
            !hyb_jinja_json(j, b, f, l->items[i], level + 1))
            return false;
    return hyb_jinja_json_break(j, b, f, level) && hyb_jinja_put(j, b, "]", 1);
}

static bool hyb_jinja_json_dict(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, const hyb_jdict *d, int level)
{
    hyb_jlist *sorted = NULL;
    uint32_t i;
    if (!d->n) return hyb_jinja_put(j, b, "{}", 2);
    if (f->sort && !hyb_jinja_sort_keys(j, d, &sorted)) return false;
    if (!hyb_jinja_put(j, b, "{", 1)) return false;
    for (i = 0; i < d->n; i++) {
        const hyb_jentry *e = sorted ? hyb_jdict_find(&j->arena, d, sorted->items[i]) : &d->entries[i];
        if (!e) return hyb_jinja_spent(j);
        if ((i && !hyb_jinja_put(j, b, f->comma, f->n_comma)) || !hyb_jinja_json_break(j, b, f, level + 1) ||
            !hyb_jinja_json_key(j, b, f, e->key) || !hyb_jinja_put(j, b, f->colon, f->n_colon) ||
            !hyb_jinja_json(j, b, f, e->value, level + 1))
            return false;
    }
    return hyb_jinja_json_break(j, b, f, level) && hyb_jinja_put(j, b, "}", 1);
}

/* As Python's json.dumps. */
static bool hyb_jinja_json(hyb_jinja *j, hyb_jbuffer *b, const hyb_jformat *f, hyb_jvalue v, int level)
{
    char text[40];
    hyb_jsink sink;
    bool ok;
    if (!hyb_jinja_enter(j)) return false;
    sink.j = j;
    sink.b = b;
    switch (v.type) {
    case HYB_J_NONE: ok = hyb_jinja_puts(j, b, "null"); break;
    case HYB_J_BOOL: ok = hyb_jinja_puts(j, b, v.u.b ? "true" : "false"); break;
    case HYB_J_FLOAT: ok = hyb_jinja_put(j, b, text, hyb_json_real(v.u.d, text)); break;
    case HYB_J_INT:
    case HYB_J_BIG: ok = hyb_jinja_str(j, b, v); break;
    case HYB_J_STRING: ok = hyb_json_quote(v.u.s->p, v.u.s->n, f->ascii, hyb_jsink_write, &sink); break;
    case HYB_J_LIST:
        ok = j->js || v.u.list->kind <= HYB_J_TUPLE
                 ? hyb_jinja_json_list(j, b, f, v.u.list, level)
                 : hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be written as JSON", hyb_jtype_name(v));
        break;
    case HYB_J_DICT: ok = hyb_jinja_json_dict(j, b, f, v.u.dict, level); break;
    case HYB_J_UNDEFINED:
        if (j->js) {
            ok = hyb_jinja_puts(j, b, "null");
            break;
        }
        ok = hyb_jinja_undefined(j, v);
        break;
    default:
        ok = hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "tojson: a %s cannot be written as JSON", hyb_jtype_name(v));
        break;
    }
    j->depth++;
    return ok;
}
#endif
