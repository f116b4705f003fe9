/* core/json: a JSON text as a flat tree of nodes in reading order: a container is followed by its children, an object's members
 * are a key (a string) and a value each. Two allocations hold it all. Strict RFC 8259: what is not JSON is an error with its place.
 * Parsing does not recurse; depth and number of nodes are limited by the caller. */

typedef enum hybrid__json_type {
    HYBRID__JSON_NULL, HYBRID__JSON_BOOL, HYBRID__JSON_INT, HYBRID__JSON_REAL,
    HYBRID__JSON_BIG,        /* an integer beyond 64 bits: its digits, as a string */
    HYBRID__JSON_STRING, HYBRID__JSON_ARRAY, HYBRID__JSON_OBJECT
} hybrid__json_type;

typedef struct hybrid__json {
    uint8_t  type;
    uint32_t n;              /* bytes of a string (zero-terminated besides), elements of an array, members of an object */
    uint32_t skip;           /* nodes of this value, itself included: this + skip is what follows it */
    uint32_t at;             /* byte position in the text */
    union { bool b; int64_t i; double d; const char *s; } u;
} hybrid__json;

typedef struct hybrid__json_doc {
    hybrid_runtime *rt;
    hybrid__json   *root;
    char           *text;    /* all decoded strings */
    size_t          count, capacity;
} hybrid__json_doc;

enum { HYBRID__JSON_DEPTH = 128 };                           /* a good limit for what has no reason to be deeper */

typedef struct hybrid__json_reader {
    hybrid__json_doc *doc;
    const char *start, *p, *end;
    char *text;                                              /* where the next string goes: strings never grow by decoding */
    size_t max_nodes;
    hybrid_error *error;
} hybrid__json_reader;

static void hybrid__json_free(hybrid__json_doc *doc)
{
    if (!doc->rt) return;
    hybrid__free(doc->rt, doc->root);
    hybrid__free(doc->rt, doc->text);
    memset(doc, 0, sizeof *doc);
}

static hybrid_result hybrid__json_fail(hybrid__json_reader *r, const char *what)
{
    const char *p, *line = r->start;
    unsigned lines = 1;
    for (p = r->start; p < r->p; p++) if (*p == '\n') { lines++; line = p + 1; }
    return hybrid__fail_at(r->error, HYBRID_ERROR_FORMAT, (uint64_t)(r->p - r->start), "JSON, line %u, column %u: %s",
        lines, (unsigned)(r->p - line) + 1, what);
}

static void hybrid__json_space(hybrid__json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) r->p++;
}

/* A new node at the end; the array may move. NULL: error set. */
static hybrid__json *hybrid__json_push(hybrid__json_reader *r, hybrid__json_type type, hybrid_result *result)
{
    hybrid__json_doc *doc = r->doc;
    hybrid__json *node;
    if (doc->count >= r->max_nodes) {
        *result = hybrid__fail_at(r->error, HYBRID_ERROR_LIMIT, (uint64_t)(r->p - r->start), "JSON: more than %llu values", (unsigned long long)r->max_nodes);
        return NULL;
    }
    if (doc->count == doc->capacity) {
        size_t capacity = doc->capacity ? doc->capacity * 2 : 32;
        void *grown = capacity > SIZE_MAX / sizeof *node ? NULL
            : hybrid__realloc(doc->rt, doc->root, doc->count * sizeof *node, capacity * sizeof *node);
        if (!grown) { *result = hybrid__fail_memory(r->error, capacity * sizeof *node); return NULL; }
        doc->root = (hybrid__json *)grown;
        doc->capacity = capacity;
    }
    node = &doc->root[doc->count++];
    memset(node, 0, sizeof *node);
    node->type = (uint8_t)type;
    node->skip = 1;
    node->at = (uint32_t)(r->p - r->start);
    return node;
}

/* Four hex digits at p, or -1. */
static int32_t hybrid__json_hex(const char *p, const char *end)
{
    int32_t code = 0;
    int i;
    if (end - p < 4) return -1;
    for (i = 0; i < 4; i++) {
        char c = p[i];
        int d = hybrid__is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        code = code * 16 + d;
    }
    return code;
}

/* After a backslash: one escape to r->text. A surrogate without its partner becomes U+FFFD. */
static bool hybrid__json_escape(hybrid__json_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int32_t code, low;
    char c;
    if (r->p == r->end) return false;
    c = *r->p++;
    if (c && (found = strchr(from, c)) != NULL) { *r->text++ = to[found - from]; return true; }
    if (c != 'u' || (code = hybrid__json_hex(r->p, r->end)) < 0) { r->p--; return false; }
    r->p += 4;
    if (code >= 0xD800 && code < 0xDC00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u'
        && (low = hybrid__json_hex(r->p + 2, r->end)) >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        r->p += 6;
    }
    r->text += hybrid__utf8_write((uint32_t)code, r->text);
    return true;
}

static hybrid_result hybrid__json_string(hybrid__json_reader *r)
{
    hybrid_result result = HYBRID_OK;
    hybrid__json *node = hybrid__json_push(r, HYBRID__JSON_STRING, &result);
    char *start = r->text;
    uint32_t code;
    size_t n;
    if (!node) return result;
    for (r->p++; r->p < r->end && *r->p != '"'; ) {
        unsigned char c = (unsigned char)*r->p;
        if (c < 0x20) return hybrid__json_fail(r, "a control character in a string must be written as an escape");
        if (c == '\\') {
            r->p++;
            if (!hybrid__json_escape(r)) return hybrid__json_fail(r, "no such escape in a string");
        } else if (c < 0x80) {
            *r->text++ = *r->p++;
        } else {
            if (!(n = hybrid__utf8_read(r->p, r->end, &code))) return hybrid__json_fail(r, "invalid UTF-8 in a string");
            memcpy(r->text, r->p, n);
            r->text += n;
            r->p += n;
        }
    }
    if (r->p == r->end) return hybrid__json_fail(r, "a string is not closed");
    r->p++;
    node->u.s = start;
    node->n = (uint32_t)(r->text - start);
    *r->text++ = 0;
    return HYBRID_OK;
}

/* An integer where it is written as one (by its digits when it does not fit 64 bits), else the nearest double. */
static hybrid_result hybrid__json_number(hybrid__json_reader *r)
{
    const char *p = r->p, *digits;
    bool minus = *p == '-', whole = true, fits = true;
    uint64_t v = 0, limit = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    hybrid_result result = HYBRID_OK;
    hybrid__json *node;
    if (minus) p++;
    for (digits = p; p < r->end && hybrid__is_digit(*p); p++) {
        unsigned d = (unsigned)(*p - '0');
        if (v > (limit - d) / 10) fits = false;
        else v = v * 10 + d;
    }
    if (p == digits) return hybrid__json_fail(r, minus ? "a digit must follow '-'" : "a value is expected here");
    if (*digits == '0' && p - digits > 1) return hybrid__json_fail(r, "a number has a leading zero");
    if (p < r->end && *p == '.') {
        whole = false;
        for (digits = ++p; p < r->end && hybrid__is_digit(*p); p++) {}
        if (p == digits) return hybrid__json_fail(r, "a digit must follow the decimal point");
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        whole = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-')) p++;
        for (digits = p; p < r->end && hybrid__is_digit(*p); p++) {}
        if (p == digits) return hybrid__json_fail(r, "an exponent has no digits");
    }
    if (!(node = hybrid__json_push(r, !whole ? HYBRID__JSON_REAL : fits ? HYBRID__JSON_INT : HYBRID__JSON_BIG, &result))) return result;
    if (whole && !fits) {                                    /* no longer than its text, like a string: the zero takes the place of what follows */
        node->u.s = r->text;
        node->n = (uint32_t)(p - r->p);
        memcpy(r->text, r->p, node->n);
        r->text += node->n;
        *r->text++ = 0;
    } else if (whole) node->u.i = minus ? (int64_t)(0 - v) : (int64_t)v;
    else hybrid__decimal_read(r->p, p, &node->u.d);
    r->p = p;
    return HYBRID_OK;
}

static hybrid_result hybrid__json_word(hybrid__json_reader *r, const char *word, hybrid__json_type type, bool value)
{
    size_t n = strlen(word);
    hybrid_result result = HYBRID_OK;
    hybrid__json *node;
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n)) return hybrid__json_fail(r, "a value is expected here");
    if (!(node = hybrid__json_push(r, type, &result))) return result;
    node->u.b = value;
    r->p += n;
    return HYBRID_OK;
}

/* A scalar, or the opening of a container. */
static hybrid_result hybrid__json_value(hybrid__json_reader *r)
{
    hybrid_result result = HYBRID_OK;
    hybrid__json_space(r);
    if (r->p == r->end) return hybrid__json_fail(r, "the text ends where a value is expected");
    switch (*r->p) {
    case '"': return hybrid__json_string(r);
    case 't': return hybrid__json_word(r, "true", HYBRID__JSON_BOOL, true);
    case 'f': return hybrid__json_word(r, "false", HYBRID__JSON_BOOL, false);
    case 'n': return hybrid__json_word(r, "null", HYBRID__JSON_NULL, false);
    case '[': case '{':
        if (hybrid__json_push(r, *r->p == '[' ? HYBRID__JSON_ARRAY : HYBRID__JSON_OBJECT, &result)) r->p++;
        return result;
    default: return hybrid__json_number(r);
    }
}

/* The loop over all values. An open container keeps its parent's index in u.i, and its own children count in n. */
static hybrid_result hybrid__json_document(hybrid__json_reader *r, size_t max_depth)
{
    hybrid__json_doc *doc = r->doc;
    int64_t open = -1;                                       /* index of the innermost open container */
    size_t depth = 0, index;
    hybrid_result result;
    for (;;) {
        bool object = open >= 0 && doc->root[open].type == HYBRID__JSON_OBJECT;
        index = doc->count;
        if (object) {
            hybrid__json_space(r);
            if (r->p == r->end || *r->p != '"') return hybrid__json_fail(r, "a member's name in quotes is expected here");
            if ((result = hybrid__json_string(r))) return result;
            hybrid__json_space(r);
            if (r->p == r->end || *r->p != ':') return hybrid__json_fail(r, "':' is expected here");
            r->p++;
            index = doc->count;
        }
        if ((result = hybrid__json_value(r))) return result;
        if (open >= 0) doc->root[open].n++;
        if (doc->root[index].type >= HYBRID__JSON_ARRAY) {
            if (++depth > max_depth)
                return hybrid__fail_at(r->error, HYBRID_ERROR_LIMIT, doc->root[index].at, "JSON: nested deeper than %llu levels", (unsigned long long)max_depth);
            doc->root[index].u.i = open;
            open = (int64_t)index;
            hybrid__json_space(r);
            if (r->p == r->end || *r->p != (doc->root[index].type == HYBRID__JSON_ARRAY ? ']' : '}')) continue;
        }
        for (;;) {                                           /* close what ends here */
            hybrid__json *c;
            if (open < 0) return HYBRID_OK;
            c = &doc->root[open];
            hybrid__json_space(r);
            if (r->p < r->end && *r->p == ',' && c->n) { r->p++; break; }
            if (r->p == r->end || *r->p != (c->type == HYBRID__JSON_ARRAY ? ']' : '}'))
                return hybrid__json_fail(r, c->type == HYBRID__JSON_ARRAY ? "',' or ']' is expected here" : "',' or '}' is expected here");
            r->p++;
            c->skip = (uint32_t)(doc->count - (size_t)open);
            open = c->u.i;
            c->u.i = 0;
            depth--;
        }
    }
}

/* Reads n bytes at text. The tree does not point into them. On failure doc is empty. Errors: FORMAT, LIMIT, MEMORY. */
static hybrid_result hybrid__json_parse(hybrid_runtime *rt, const char *text, size_t n, size_t max_depth, size_t max_nodes,
    hybrid__json_doc *doc, hybrid_error *error)
{
    hybrid__json_reader r;
    hybrid_result result;
    memset(doc, 0, sizeof *doc);
    if (n >= UINT32_MAX) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "JSON: the text has %llu bytes, at most 4 GB are read", (unsigned long long)n);
    doc->rt = rt;
    if (!(doc->text = (char *)hybrid__alloc(rt, n + 1))) return hybrid__fail_memory(error, n + 1);
    r.doc = doc; r.start = r.p = text; r.end = text + n; r.text = doc->text; r.error = error;
    r.max_nodes = HYBRID__MIN(max_nodes, (size_t)UINT32_MAX);
    if (!(result = hybrid__json_document(&r, max_depth))) {
        hybrid__json_space(&r);
        if (r.p < r.end) result = hybrid__json_fail(&r, "the value ended, but text follows it");
    }
    if (result) hybrid__json_free(doc);
    return result;
}

/* Children: for (i = 0, v = hybrid__json_first(c); i < c->n; i++, v = hybrid__json_next(v)); of an object v is the key, v + 1 the value. */
HYBRID__INLINE const hybrid__json *hybrid__json_first(const hybrid__json *c) { return c + 1; }
HYBRID__INLINE const hybrid__json *hybrid__json_next(const hybrid__json *v) { return v + v->skip; }
HYBRID__INLINE const hybrid__json *hybrid__json_next_member(const hybrid__json *key) { return key + 1 + key[1].skip; }

/* The value of a member, or NULL; of several with one name the last, as Python reads it. NULL object: NULL. */
static const hybrid__json *hybrid__json_get(const hybrid__json *object, const char *key)
{
    const hybrid__json *found = NULL, *k;
    size_t n = strlen(key);
    uint32_t i;
    if (!object || object->type != HYBRID__JSON_OBJECT) return NULL;
    for (i = 0, k = hybrid__json_first(object); i < object->n; i++, k = hybrid__json_next_member(k))
        if (k->n == n && !memcmp(k->u.s, key, n)) found = k + 1;
    return found;
}

/* A string in quotes, to a writer. ascii: everything else as \u escapes. Invalid UTF-8 becomes U+FFFD. */
static bool hybrid__json_quote(const char *s, size_t n, bool ascii, hybrid_write_fn write, void *user)
{
    const char *end = s + n, *plain = s, *p = s;
    if (!write(user, "\"", 1)) return false;
    while (p < end) {
        char out[16];
        uint32_t code = 0;
        size_t used = hybrid__utf8_read(p, end, &code), made = 0;
        if (used && code >= 0x20 && code != '"' && code != '\\' && (code < 0x7F || !ascii)) { p += used; continue; }
        if (p > plain && !write(user, plain, (size_t)(p - plain))) return false;
        if (!used) { used = 1; code = 0xFFFD; }
        if (code == '"' || code == '\\') { out[0] = '\\'; out[1] = (char)code; made = 2; }
        else if (code == '\n' || code == '\r' || code == '\t' || code == '\b' || code == '\f') {
            out[0] = '\\';
            out[1] = code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : code == '\b' ? 'b' : 'f';
            made = 2;
        } else if (code > 0xFFFF && ascii) {
            code -= 0x10000;
            made = (size_t)snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xD800 + (unsigned)(code >> 10), 0xDC00 + (unsigned)(code & 0x3FF));
        } else if (code < 0x20 || ascii) {
            made = (size_t)snprintf(out, sizeof out, "\\u%04x", (unsigned)code);
        } else {
            made = hybrid__utf8_write(code, out);
        }
        if (!write(user, out, made)) return false;
        p += used;
        plain = p;
    }
    return (p == plain || write(user, plain, (size_t)(p - plain))) && write(user, "\"", 1);
}

/* A number as text: shortest form that reads back as the same double. Not-a-number and infinities as Python writes them. */
static size_t hybrid__json_real(double v, char out[40])
{
    if (v != v) { memcpy(out, "NaN", 4); return 3; }
    if (v == HUGE_VAL) { memcpy(out, "Infinity", 9); return 8; }
    if (v == -HUGE_VAL) { memcpy(out, "-Infinity", 10); return 9; }
    return hybrid__decimal_write(v, out);
}

/* A tree as compact JSON. Recurses as deep as the tree, which the parser limited. False: the writer said so. */
static bool hybrid__json_write(const hybrid__json *v, hybrid_write_fn write, void *user)
{
    char text[40];
    uint32_t i;
    const hybrid__json *child;
    switch (v->type) {
    case HYBRID__JSON_NULL: return write(user, "null", 4);
    case HYBRID__JSON_BOOL: return write(user, v->u.b ? "true" : "false", v->u.b ? 4 : 5);
    case HYBRID__JSON_INT: return write(user, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v->u.i));
    case HYBRID__JSON_REAL: return write(user, text, hybrid__json_real(v->u.d, text));
    case HYBRID__JSON_BIG: return write(user, v->u.s, v->n);
    case HYBRID__JSON_STRING: return hybrid__json_quote(v->u.s, v->n, false, write, user);
    case HYBRID__JSON_ARRAY:
        if (!write(user, "[", 1)) return false;
        for (i = 0, child = hybrid__json_first(v); i < v->n; i++, child = hybrid__json_next(child))
            if ((i && !write(user, ",", 1)) || !hybrid__json_write(child, write, user)) return false;
        return write(user, "]", 1);
    default:
        if (!write(user, "{", 1)) return false;
        for (i = 0, child = hybrid__json_first(v); i < v->n; i++, child = hybrid__json_next_member(child))
            if ((i && !write(user, ",", 1)) || !hybrid__json_quote(child->u.s, child->n, false, write, user) || !write(user, ":", 1)
                || !hybrid__json_write(child + 1, write, user)) return false;
        return write(user, "}", 1);
    }
}
