/* core/json: a JSON text as a flat tree of nodes in reading order: a container is followed by its children, an object's
 * members are a key (a string) and a value each. Two allocations hold it all. Strict RFC 8259: what is not JSON is an
 * error with its place. Parsing does not recurse; depth and number of nodes are limited by the caller. */
#ifndef HYB_CORE_JSON_C
#define HYB_CORE_JSON_C
#include "utf8.c"
#include "decimal.c"
#include "grow.c"

typedef enum hyb_json_type {
    HYB_JSON_NULL,
    HYB_JSON_BOOL,
    HYB_JSON_INT,
    HYB_JSON_REAL,
    HYB_JSON_BIG, /* an integer beyond 64 bits: its digits, as a string */
    HYB_JSON_STRING,
    HYB_JSON_ARRAY,
    HYB_JSON_OBJECT
} hyb_json_type;

typedef struct hyb_json {
    uint8_t type;
    uint32_t n;    /* bytes of a string (zero-terminated besides), elements of an array, members of an object */
    uint32_t skip; /* nodes of this value, itself included: the next value is at this + skip */
    uint32_t at;   /* byte position in the text */
    union {
        bool b;
        int64_t i;
        double d;
        const char *s;
    } u;
} hyb_json;

typedef struct hyb_json_doc {
    hybrid_runtime *rt;
    hyb_json *root;
    char *text; /* all decoded strings */
    size_t count, capacity;
} hyb_json_doc;

enum { HYB_JSON_DEPTH = 128 }; /* a good limit where nothing needs more */

typedef struct hyb_json_reader {
    hyb_json_doc *doc;
    const char *start, *p, *end;
    char *text; /* where the next string goes: strings never grow by decoding */
    size_t max_nodes;
    hybrid_error *error;
} hyb_json_reader;

static void hyb_json_free(hyb_json_doc *doc)
{
    if (!doc->rt) return;
    hyb_free(doc->rt, doc->root);
    hyb_free(doc->rt, doc->text);
    memset(doc, 0, sizeof *doc);
}

static hybrid_result hyb_json_fail(hyb_json_reader *r, const char *what)
{
    const char *p, *line = r->start;
    unsigned lines = 1;
    for (p = r->start; p < r->p; p++)
        if (*p == '\n') {
            lines++;
            line = p + 1;
        }
    return hyb_fail_at(r->error, HYBRID_ERROR_FORMAT, (uint64_t)(r->p - r->start), "JSON, line %u, column %u: %s",
                       lines, (unsigned)(r->p - line) + 1, what);
}

static void hyb_json_space(hyb_json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) r->p++;
}

/* A new node at the end; the array may move. NULL: error set. */
static hyb_json *hyb_json_push(hyb_json_reader *r, hyb_json_type type, hybrid_result *result)
{
    hyb_json_doc *doc = r->doc;
    hyb_json *node;
    if (doc->count >= r->max_nodes) {
        *result = hyb_fail_at(r->error, HYBRID_ERROR_LIMIT, (uint64_t)(r->p - r->start), "JSON: more than %llu values",
                              (unsigned long long)r->max_nodes);
        return NULL;
    }
    *result = HYB_GROW(doc->rt, doc->root, doc->capacity, doc->count, doc->count + 1, r->error);
    if (*result) return NULL;
    node = &doc->root[doc->count++];
    memset(node, 0, sizeof *node);
    node->type = (uint8_t)type;
    node->skip = 1;
    node->at = (uint32_t)(r->p - r->start);
    return node;
}

/* Four hex digits at p, or -1. */
static int32_t hyb_json_hex(const char *p, const char *end)
{
    int32_t code = 0;
    int i;
    if (end - p < 4) return -1;
    for (i = 0; i < 4; i++) {
        char c = p[i];
        int d = hyb_is_digit(c)        ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        code = code * 16 + d;
    }
    return code;
}

/* After a backslash: one escape to r->text. A surrogate without its partner becomes U+FFFD. */
static bool hyb_json_escape(hyb_json_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int32_t code, low;
    char c;
    if (r->p == r->end) return false;
    c = *r->p++;
    if (c && (found = strchr(from, c)) != NULL) {
        *r->text++ = to[found - from];
        return true;
    }
    if (c != 'u' || (code = hyb_json_hex(r->p, r->end)) < 0) {
        r->p--;
        return false;
    }
    r->p += 4;
    if (code >= 0xD800 && code < 0xDC00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' &&
        (low = hyb_json_hex(r->p + 2, r->end)) >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        r->p += 6;
    }
    r->text += hyb_utf8_write((uint32_t)code, r->text);
    return true;
}

static hybrid_result hyb_json_string(hyb_json_reader *r)
{
    hybrid_result result = HYBRID_OK;
    hyb_json *node = hyb_json_push(r, HYB_JSON_STRING, &result);
    char *start = r->text;
    uint32_t code;
    size_t n;
    if (!node) return result;
    for (r->p++; r->p < r->end && *r->p != '"';) {
        unsigned char c = (unsigned char)*r->p;
        if (c < 0x20) return hyb_json_fail(r, "a control character in a string must be written as an escape");
        if (c == '\\') {
            r->p++;
            if (!hyb_json_escape(r)) return hyb_json_fail(r, "no such escape in a string");
        } else if (c < 0x80) {
            *r->text++ = *r->p++;
        } else {
            if (!(n = hyb_utf8_read(r->p, r->end, &code))) return hyb_json_fail(r, "invalid UTF-8 in a string");
            memcpy(r->text, r->p, n);
            r->text += n;
            r->p += n;
        }
    }
    if (r->p == r->end) return hyb_json_fail(r, "a string is not closed");
    r->p++;
    node->u.s = start;
    node->n = (uint32_t)(r->text - start);
    *r->text++ = 0;
    return HYBRID_OK;
}

/* An integer where it is written as one (by its digits when it does not fit 64 bits), else the nearest double. */
static hybrid_result hyb_json_number(hyb_json_reader *r)
{
    const char *p = r->p, *digits;
    bool minus = *p == '-', whole = true, fits = true;
    uint64_t v = 0, limit = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    hybrid_result result = HYBRID_OK;
    hyb_json *node;
    if (minus) p++;
    for (digits = p; p < r->end && hyb_is_digit(*p); p++) {
        unsigned d = (unsigned)(*p - '0');
        if (v > (limit - d) / 10)
            fits = false;
        else
            v = v * 10 + d;
    }
    if (p == digits) return hyb_json_fail(r, minus ? "a digit must follow '-'" : "a value is expected here");
    if (*digits == '0' && p - digits > 1) return hyb_json_fail(r, "a number has a leading zero");
    if (p < r->end && *p == '.') {
        whole = false;
        for (digits = ++p; p < r->end && hyb_is_digit(*p); p++) {}
        if (p == digits) return hyb_json_fail(r, "a digit must follow the decimal point");
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        whole = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-')) p++;
        for (digits = p; p < r->end && hyb_is_digit(*p); p++) {}
        if (p == digits) return hyb_json_fail(r, "an exponent has no digits");
    }
    if (!(node = hyb_json_push(r, !whole ? HYB_JSON_REAL : fits ? HYB_JSON_INT : HYB_JSON_BIG, &result))) return result;
    /* like a string it needs no more room than its text: the zero byte lies where the next character was */
    if (whole && !fits) {
        node->u.s = r->text;
        node->n = (uint32_t)(p - r->p);
        memcpy(r->text, r->p, node->n);
        r->text += node->n;
        *r->text++ = 0;
    } else if (whole)
        node->u.i = minus ? (int64_t)(0 - v) : (int64_t)v;
    else
        hyb_decimal_read(r->p, p, &node->u.d);
    r->p = p;
    return HYBRID_OK;
}

static hybrid_result hyb_json_word(hyb_json_reader *r, const char *word, hyb_json_type type, bool value)
{
    size_t n = strlen(word);
    hybrid_result result = HYBRID_OK;
    hyb_json *node;
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n)) return hyb_json_fail(r, "a value is expected here");
    if (!(node = hyb_json_push(r, type, &result))) return result;
    node->u.b = value;
    r->p += n;
    return HYBRID_OK;
}

/* A scalar, or the opening of a container. */
static hybrid_result hyb_json_value(hyb_json_reader *r)
{
    hybrid_result result = HYBRID_OK;
    hyb_json_space(r);
    if (r->p == r->end) return hyb_json_fail(r, "the text ends where a value is expected");
    switch (*r->p) {
    case '"': return hyb_json_string(r);
    case 't': return hyb_json_word(r, "true", HYB_JSON_BOOL, true);
    case 'f': return hyb_json_word(r, "false", HYB_JSON_BOOL, false);
    case 'n': return hyb_json_word(r, "null", HYB_JSON_NULL, false);
    case '[':
    case '{':
        if (hyb_json_push(r, *r->p == '[' ? HYB_JSON_ARRAY : HYB_JSON_OBJECT, &result)) r->p++;
        return result;
    default: return hyb_json_number(r);
    }
}

/* The loop over all values. An open container keeps its parent's index in u.i, and its own children count in n. */
static hybrid_result hyb_json_document(hyb_json_reader *r, size_t max_depth)
{
    hyb_json_doc *doc = r->doc;
    int64_t open = -1; /* index of the innermost open container */
    size_t depth = 0, index;
    hybrid_result result;
    for (;;) {
        bool object = open >= 0 && doc->root[open].type == HYB_JSON_OBJECT;
        index = doc->count;
        if (object) {
            hyb_json_space(r);
            if (r->p == r->end || *r->p != '"') return hyb_json_fail(r, "a member's name in quotes is expected here");
            if ((result = hyb_json_string(r))) return result;
            hyb_json_space(r);
            if (r->p == r->end || *r->p != ':') return hyb_json_fail(r, "':' is expected here");
            r->p++;
            index = doc->count;
        }
        if ((result = hyb_json_value(r))) return result;
        if (open >= 0) doc->root[open].n++;
        if (doc->root[index].type >= HYB_JSON_ARRAY) {
            if (++depth > max_depth)
                return hyb_fail_at(r->error, HYBRID_ERROR_LIMIT, doc->root[index].at,
                                   "JSON: nested deeper than %llu levels", (unsigned long long)max_depth);
            doc->root[index].u.i = open;
            open = (int64_t)index;
            hyb_json_space(r);
            if (r->p == r->end || *r->p != (doc->root[index].type == HYB_JSON_ARRAY ? ']' : '}')) continue;
        }
        for (;;) { /* close what ends here */
            hyb_json *c;
            if (open < 0) return HYBRID_OK;
            c = &doc->root[open];
            hyb_json_space(r);
            if (r->p < r->end && *r->p == ',' && c->n) {
                r->p++;
                break;
            }
            if (r->p == r->end || *r->p != (c->type == HYB_JSON_ARRAY ? ']' : '}'))
                return hyb_json_fail(r, c->type == HYB_JSON_ARRAY ? "',' or ']' is expected here"
                                                                  : "',' or '}' is expected here");
            r->p++;
            c->skip = (uint32_t)(doc->count - (size_t)open);
            open = c->u.i;
            c->u.i = 0;
            depth--;
        }
    }
}

/* Reads n bytes at text. The tree does not point into them. On failure doc is empty. Errors: FORMAT, LIMIT, MEMORY. */
static hybrid_result hyb_json_parse(hybrid_runtime *rt, const char *text, size_t n, size_t max_depth, size_t max_nodes,
                                    hyb_json_doc *doc, hybrid_error *error)
{
    hyb_json_reader r;
    hybrid_result result;
    memset(doc, 0, sizeof *doc);
    if (n >= UINT32_MAX)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "JSON: the text has %llu bytes, at most 4 GB are read",
                        (unsigned long long)n);
    doc->rt = rt;
    if (!(doc->text = (char *)hyb_alloc(rt, n + 1))) return hyb_fail_memory(error, n + 1);
    r.doc = doc;
    r.start = r.p = text;
    r.end = text + n;
    r.text = doc->text;
    r.error = error;
    r.max_nodes = HYB_MIN(max_nodes, (size_t)UINT32_MAX);
    if (!(result = hyb_json_document(&r, max_depth))) {
        hyb_json_space(&r);
        if (r.p < r.end) result = hyb_json_fail(&r, "the value ended, but text follows it");
    }
    if (result) hyb_json_free(doc);
    return result;
}

/* Children: for (i = 0, v = hyb_json_first(c); i < c->n; i++, v = hyb_json_next(v)); of an object v is the key, v +
 * 1 the value. */
HYB_INLINE const hyb_json *hyb_json_first(const hyb_json *c) { return c + 1; }
HYB_INLINE const hyb_json *hyb_json_next(const hyb_json *v) { return v + v->skip; }
HYB_INLINE const hyb_json *hyb_json_next_member(const hyb_json *key) { return key + 1 + key[1].skip; }

/* The value of a member, or NULL; of several with one name the last, as Python reads it. NULL object: NULL. */
static const hyb_json *hyb_json_get(const hyb_json *object, const char *key)
{
    const hyb_json *found = NULL, *k;
    size_t n = strlen(key);
    uint32_t i;
    if (!object || object->type != HYB_JSON_OBJECT) return NULL;
    for (i = 0, k = hyb_json_first(object); i < object->n; i++, k = hyb_json_next_member(k))
        if (k->n == n && !memcmp(k->u.s, key, n)) found = k + 1;
    return found;
}

/* A string in quotes, to a writer. ascii: everything else as \u escapes. Invalid UTF-8 becomes U+FFFD. */
static bool hyb_json_quote(const char *s, size_t n, bool ascii, hybrid_write_fn write, void *user)
{
    const char *end = s + n, *plain = s, *p = s;
    if (!write(user, "\"", 1)) return false;
    while (p < end) {
        char out[16];
        uint32_t code = 0;
        size_t used = hyb_utf8_read(p, end, &code), made = 0;
        if (used && code >= 0x20 && code != '"' && code != '\\' && (code < 0x7F || !ascii)) {
            p += used;
            continue;
        }
        if (p > plain && !write(user, plain, (size_t)(p - plain))) return false;
        if (!used) {
            used = 1;
            code = 0xFFFD;
        }
        if (code == '"' || code == '\\') {
            out[0] = '\\';
            out[1] = (char)code;
            made = 2;
        } else if (code == '\n' || code == '\r' || code == '\t' || code == '\b' || code == '\f') {
            out[0] = '\\';
            out[1] = code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : code == '\b' ? 'b' : 'f';
            made = 2;
        } else if (code > 0xFFFF && ascii) {
            code -= 0x10000;
            made = (size_t)snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xD800 + (unsigned)(code >> 10),
                                    0xDC00 + (unsigned)(code & 0x3FF));
        } else if (code < 0x20 || ascii) {
            made = (size_t)snprintf(out, sizeof out, "\\u%04x", (unsigned)code);
        } else {
            made = hyb_utf8_write(code, out);
        }
        if (!write(user, out, made)) return false;
        p += used;
        plain = p;
    }
    return (p == plain || write(user, plain, (size_t)(p - plain))) && write(user, "\"", 1);
}

/* A number as text: shortest form that reads back as the same double. Not-a-number and infinities as Python writes
 * them. */
static size_t hyb_json_real(double v, char out[40])
{
    if (v != v) {
        memcpy(out, "NaN", 4);
        return 3;
    }
    if (v == HUGE_VAL) {
        memcpy(out, "Infinity", 9);
        return 8;
    }
    if (v == -HUGE_VAL) {
        memcpy(out, "-Infinity", 10);
        return 9;
    }
    return hyb_decimal_write(v, out);
}

/* A tree as compact JSON. Recurses as deep as the tree, which the parser limited. False: the writer refused. */
static bool hyb_json_write(const hyb_json *v, hybrid_write_fn write, void *user)
{
    char text[40];
    uint32_t i;
    const hyb_json *child;
    switch (v->type) {
    case HYB_JSON_NULL: return write(user, "null", 4);
    case HYB_JSON_BOOL: return write(user, v->u.b ? "true" : "false", v->u.b ? 4 : 5);
    case HYB_JSON_INT: return write(user, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v->u.i));
    case HYB_JSON_REAL: return write(user, text, hyb_json_real(v->u.d, text));
    case HYB_JSON_BIG: return write(user, v->u.s, v->n);
    case HYB_JSON_STRING: return hyb_json_quote(v->u.s, v->n, false, write, user);
    case HYB_JSON_ARRAY:
        if (!write(user, "[", 1)) return false;
        for (i = 0, child = hyb_json_first(v); i < v->n; i++, child = hyb_json_next(child))
            if ((i && !write(user, ",", 1)) || !hyb_json_write(child, write, user)) return false;
        return write(user, "]", 1);
    default:
        if (!write(user, "{", 1)) return false;
        for (i = 0, child = hyb_json_first(v); i < v->n; i++, child = hyb_json_next_member(child))
            if ((i && !write(user, ",", 1)) || !hyb_json_quote(child->u.s, child->n, false, write, user) ||
                !write(user, ":", 1) || !hyb_json_write(child + 1, write, user))
                return false;
        return write(user, "}", 1);
    }
}
#endif
