/* text/grammar/schema: what a JSON Schema says of a value, as a choice of plain lists.
 *
 * A *term* is something that must hold of a value: a schema, that a schema does not hold, to be equal to a value. A
 * *goal* is a set of terms that must hold together: it is what a rule of the grammar is made for, once for each goal,
 * so that recursion ends. Expanding a goal follows $ref, allOf, anyOf, oneOf, not, if, until what is left are lists of
 * *flat* terms, which say something of the value itself; the goal holds where any of the lists does.
 *
 *     { "type": "object", "anyOf": [A, B] }   ->   [ base of the whole, base of A ], [ base of the whole, base of B ]
 *
 * Nothing recurses but the question whether two branches of a oneOf have a value in common, which gives up early. */
#ifndef HYB_TEXT_GRAMMAR_SCHEMA_C
#define HYB_TEXT_GRAMMAR_SCHEMA_C
#include "../../core/hash.c"
#include "bounds.c"

enum {
    HYB_SCHEMA_MAX_NODES = 262144,
    HYB_SCHEMA_MAX_CHAIN = 64,    /* $ref, allOf... in each other for one value */
    HYB_SCHEMA_MAX_LISTS = 512,   /* of a goal */
    HYB_SCHEMA_MAX_STEPS = 50000, /* to expand a goal */
    HYB_SCHEMA_MAX_GOALS = 16384
};

/* Kinds of values. A number is whole, or has digits other than 0 after its point, or is whole but not written so. */
#define HYB_IS_NULL    1u
#define HYB_IS_FALSE   2u
#define HYB_IS_TRUE    4u
#define HYB_IS_WHOLE   8u
#define HYB_IS_POINT   16u
#define HYB_IS_SPELLED 32u
#define HYB_IS_NUMBER  56u
#define HYB_IS_STRING  64u
#define HYB_IS_ARRAY   128u
#define HYB_IS_OBJECT  256u
#define HYB_IS_ANY     511u

typedef enum hyb_term_kind {
    HYB_TERM_SCHEMA, /* node: the schema */
    HYB_TERM_NOT,
    HYB_TERM_ANY,  /* node: a list of schemas, one of which holds at least; */
    HYB_TERM_ONE,  /* exactly one */
    HYB_TERM_LIST, /* node: a list of values (enum) */
    HYB_TERM_IF,   /* node: the schema with the if */
    HYB_TERM_WHEN, /* node: the name of a member; what holds of an object that has it is node + 1 */
    /* flat ones */
    HYB_TERM_BASE,     /* node: a schema, of which only what it says itself is meant */
    HYB_TERM_LITERAL,  /* node: the value */
    HYB_TERM_SCALARS,  /* node: a list of values, of which those without parts are meant */
    HYB_TERM_TYPES,    /* only the mask */
    HYB_TERM_UNLESS,   /* node: the key of what does not hold */
    HYB_TERM_LACKS,    /* node: the name of a member that an object does not have; */
    HYB_TERM_HAS,      /* that it has */
    HYB_TERM_HAS_OTHER /* node: the same, and a schema (node + 1) that its value does not fit */
} hyb_term_kind;

typedef struct hyb_term {
    const hyb_json *node;
    uint16_t kind, mask; /* mask: of the types that a value can have then */
    uint32_t chain;
} hyb_term;

typedef struct hyb_goal {
    uint32_t first, n; /* terms */
    uint32_t rule;     /* HYB_DRAFT_NONE: not asked for yet */
} hyb_goal;

/* Texts that were computed for a node: a pattern, or the names that a propertyNames allows. */
typedef struct hyb_schema_texts {
    const hyb_json *node;
    hyb_dfa texts;
} hyb_schema_texts;

typedef struct hyb_schema {
    hybrid_runtime *rt;
    hybrid_error *error;
    hyb_json_doc doc;
    hyb_draft *draft;
    bool siblings; /* what stands beside a $ref counts: not so in drafts up to 7 */
    hyb_goal *goals;
    hyb_term *terms;      /* of all goals */
    uint32_t *slots;      /* hash table of goal + 1 */
    uint32_t *rule_goals; /* of each rule: its goal, HYB_DRAFT_NONE: it is none's */
    hyb_schema_texts *cache;
    size_t n_goals, n_terms, n_slots, n_cache, goal_capacity, term_capacity, rule_capacity, cache_capacity;
    hyb_dfa numbers[HYB_NUMERAL_KINDS];
    uint32_t character, string; /* rules, or HYB_DRAFT_NONE */
    int asking;                 /* questions in each other */
} hyb_schema;

/* Some lists of terms, one behind the other. */
typedef struct hyb_term_lists {
    hyb_term *terms;
    uint32_t *begin;
    size_t n, count, capacity, begin_capacity;
} hyb_term_lists;

static void hyb_term_lists_free(hyb_schema *s, hyb_term_lists *l)
{
    hyb_free(s->rt, l->terms);
    hyb_free(s->rt, l->begin);
    memset(l, 0, sizeof *l);
}

/* ---- what is wrong, and where ---- */

/* The JSON pointer of a node, cut to fit. */
static const char *hyb_schema_path(const hyb_schema *s, const hyb_json *node, char out[200])
{
    const hyb_json *at = s->doc.root;
    size_t n = 0;
    out[0] = 0;
    while (at != node && at->type >= HYB_JSON_ARRAY) {
        const bool object = at->type == HYB_JSON_OBJECT;
        const hyb_json *v = hyb_json_first(at), *next;
        uint32_t i;
        for (i = 0; i < at->n; i++, v = next) {
            next = object ? hyb_json_next_member(v) : hyb_json_next(v);
            if (node < next) break;
        }
        if (i == at->n) break;
        if (object)
            n += (size_t)snprintf(out + n, 200 - n, "/%.*s", (int)HYB_MIN(v->n, 60), v->u.s);
        else
            n += (size_t)snprintf(out + n, 200 - n, "/%u", (unsigned)i);
        if (n > 130 || (object && node == v)) break;
        at = object ? v + 1 : v;
    }
    return n ? out : strcpy(out, "its root");
}

/* "the schema uses 'not' at /a, ..." */
static hybrid_result hyb_schema_refuse(const hyb_schema *s, const hyb_json *node, const char *keyword, const char *why)
{
    char path[200];
    return hyb_fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, node->at, "the schema uses '%.60s' at %s, %s", keyword,
                       hyb_schema_path(s, node, path), why);
}

static hybrid_result hyb_schema_wrong(const hyb_schema *s, const hyb_json *node, const char *what)
{
    char path[200];
    return hyb_fail_at(s->error, HYBRID_ERROR_FORMAT, node->at, "the schema is wrong at %s: %s",
                       hyb_schema_path(s, node, path), what);
}

/* What a failure says, with the place: "at /a, pattern: ..." */
static hybrid_result hyb_schema_at(const hyb_schema *s, const hyb_json *node, const char *keyword, hybrid_result r)
{
    char path[200], what[200];
    if (!r || r == HYBRID_ERROR_MEMORY || !s->error) return r;
    snprintf(what, sizeof what, "%.199s", s->error->message);
    return hyb_fail_at(s->error, r, node->at, "the schema uses '%s' at %s, which hybrid cannot do: %s", keyword,
                       hyb_schema_path(s, node, path), what);
}

/* ---- reading ---- */

static bool hyb_json_same(const hyb_json *a, const hyb_json *b)
{
    return a->n == b->n && !memcmp(a->u.s, b->u.s, a->n);
}

HYB_INLINE bool hyb_json_is(const hyb_json *v, const char *text)
{
    return v->type == HYB_JSON_STRING && v->n == strlen(text) && !memcmp(v->u.s, text, v->n);
}

/* The key of a member, the last one of that name, or NULL. */
static const hyb_json *hyb_json_key(const hyb_json *object, const char *name, size_t size)
{
    const hyb_json *found = NULL, *k;
    uint32_t i;
    if (!object || object->type != HYB_JSON_OBJECT) return NULL;
    for (i = 0, k = hyb_json_first(object); i < object->n; i++, k = hyb_json_next_member(k))
        if (k->n == size && !memcmp(k->u.s, name, size)) found = k;
    return found;
}

static hybrid_result hyb_schema_count_of(const hyb_schema *s, const hyb_json *v, uint32_t *n)
{
    if (v->type == HYB_JSON_INT && v->u.i >= 0)
        *n = v->u.i < (int64_t)HYB_DFA_DEAD - 1 ? (uint32_t)v->u.i : HYB_DFA_DEAD - 1;
    else if (v->type == HYB_JSON_REAL && v->u.d >= 0 && v->u.d <= 1e9 && v->u.d == (double)(uint32_t)v->u.d)
        *n = (uint32_t)v->u.d;
    else
        return hyb_schema_wrong(s, v, "this is to be a whole number, 0 or more");
    return HYBRID_OK;
}

/* A keyword that counts something. *n is left alone when it is not there. */
static hybrid_result hyb_schema_count(const hyb_schema *s, const hyb_json *schema, const char *keyword, uint32_t *n)
{
    const hyb_json *v = hyb_json_get(schema, keyword);
    return v ? hyb_schema_count_of(s, v, n) : HYBRID_OK;
}

static uint32_t hyb_schema_type_of(const hyb_json *v)
{
    switch (v->type) {
    case HYB_JSON_NULL: return HYB_IS_NULL;
    case HYB_JSON_BOOL: return v->u.b ? HYB_IS_TRUE : HYB_IS_FALSE;
    case HYB_JSON_INT:
    case HYB_JSON_BIG: return HYB_IS_WHOLE;
    case HYB_JSON_REAL: return v->u.d == floor(v->u.d) ? HYB_IS_WHOLE : HYB_IS_POINT;
    case HYB_JSON_STRING: return HYB_IS_STRING;
    case HYB_JSON_ARRAY: return HYB_IS_ARRAY;
    default: return HYB_IS_OBJECT;
    }
}

typedef struct hyb_type_name {
    const char *name;
    uint32_t mask;
} hyb_type_name;

/* The mask that a name of a type, or a list of them, means; 0: it is wrong. */
static uint32_t hyb_schema_types(const hyb_json *v)
{
    static const hyb_type_name types[] = { { "null", HYB_IS_NULL },     { "boolean", HYB_IS_FALSE | HYB_IS_TRUE },
                                           { "integer", HYB_IS_WHOLE }, { "number", HYB_IS_NUMBER },
                                           { "string", HYB_IS_STRING }, { "array", HYB_IS_ARRAY },
                                           { "object", HYB_IS_OBJECT } };
    const hyb_json *name = v->type == HYB_JSON_ARRAY ? hyb_json_first(v) : v;
    const uint32_t n = v->type == HYB_JSON_ARRAY ? v->n : 1;
    uint32_t i, mask = 0;
    size_t k;
    for (i = 0; i < n; i++, name = hyb_json_next(name)) {
        for (k = 0; k < HYB_COUNT(types) && !hyb_json_is(name, types[k].name); k++) {}
        if (k == HYB_COUNT(types)) return 0;
        mask |= types[k].mask;
    }
    return mask;
}

/* ---- references ---- */

/* Whether an object is a resource of its own, in which references mean something else. */
static bool hyb_schema_own_resource(const hyb_schema *s, const hyb_json *object)
{
    const hyb_json *id = hyb_json_get(object, "$id");
    return object != s->doc.root && id && id->type == HYB_JSON_STRING && id->n && id->u.s[0] != '#';
}

/* The schema with this name ($anchor, or "#name" as $id), where there is exactly one. */
static const hyb_json *hyb_schema_anchor(const hyb_schema *s, const char *name, size_t size)
{
    static const char *const keys[] = { "$anchor", "$dynamicAnchor", "$id" };
    const hyb_json *found = NULL, *v = s->doc.root, *end = v + s->doc.count;
    while (v < end) {
        size_t k;
        if (hyb_json_is(v, "enum") || hyb_json_is(v, "const") || hyb_schema_own_resource(s, v)) { /* not for us */
            v += v->type == HYB_JSON_STRING && v + 1 < end ? 1 + v[1].skip : v->skip;
            continue;
        }
        for (k = 0; k < HYB_COUNT(keys); k++) {
            const hyb_json *a = hyb_json_get(v, keys[k]);
            const size_t hash = k == 2;
            if (!a || a->type != HYB_JSON_STRING || a->n != size + hash || (hash && a->u.s[0] != '#') ||
                memcmp(a->u.s + hash, name, size))
                continue;
            if (found && found != v) return NULL;
            found = v;
        }
        v++;
    }
    return found;
}

/* One step of a JSON pointer, ~0 ~1 %25 undone, in place of a copy; its length, or SIZE_MAX. */
static size_t hyb_schema_step(const char *p, size_t size, char *out)
{
    size_t i, n = 0;
    for (i = 0; i < size; i++) {
        int32_t high, low;
        char hex[4] = { '0', '0', 0, 0 };
        out[n] = p[i];
        if (p[i] == '%' && i + 2 < size) {
            hex[2] = p[i + 1];
            hex[3] = p[i + 2];
            if ((high = hyb_json_hex(hex, hex + 4)) < 0) return SIZE_MAX;
            out[n] = (char)high;
            i += 2;
        }
        if (out[n] == '~') {
            low = i + 1 < size ? p[++i] : 0;
            if (low != '0' && low != '1') return SIZE_MAX;
            out[n] = low == '0' ? '~' : '/';
        }
        n++;
    }
    return n;
}

static const hyb_json *hyb_schema_child(const hyb_json *at, const char *step, size_t n)
{
    const hyb_json *key;
    uint32_t index = 0, i;
    if (at->type == HYB_JSON_OBJECT) return (key = hyb_json_key(at, step, n)) != NULL ? key + 1 : NULL;
    if (at->type != HYB_JSON_ARRAY || !n || n > 6 || (n > 1 && step[0] == '0')) return NULL;
    for (i = 0; i < n; i++) {
        if (!hyb_is_digit(step[i])) return NULL;
        index = index * 10 + (uint32_t)(step[i] - '0');
    }
    if (index >= at->n) return NULL;
    for (at = hyb_json_first(at); index--;) at = hyb_json_next(at);
    return at;
}

/* What is at a JSON pointer from the root, or NULL. */
static const hyb_json *hyb_schema_pointer(const hyb_schema *s, const char *p, size_t size)
{
    const char *end = p + size;
    const hyb_json *at = s->doc.root;
    char step[256];
    while (at && p < end) {
        const char *slash = (const char *)memchr(p + 1, '/', (size_t)(end - p - 1));
        const size_t n = (size_t)((slash ? slash : end) - p) - 1;
        size_t used;
        if (n > sizeof step - 1 || (used = hyb_schema_step(p + 1, n, step)) == SIZE_MAX) return NULL;
        at = hyb_schema_child(at, step, used);
        if (at && hyb_schema_own_resource(s, at) && slash) return NULL;
        p = slash ? slash : end;
    }
    return at;
}

static hybrid_result hyb_schema_reference(const hyb_schema *s, const hyb_json *ref, const hyb_json **target)
{
    const hyb_json *id = hyb_json_get(s->doc.root, "$id");
    const char *hash;
    size_t base, id_size;
    if (ref->type != HYB_JSON_STRING) return hyb_schema_wrong(s, ref, "a $ref is to be a text");
    hash = (const char *)memchr(ref->u.s, '#', ref->n);
    base = hash ? (size_t)(hash - ref->u.s) : ref->n;
    id_size = id && id->type == HYB_JSON_STRING ? id->n : 0;
    if (id_size && id->u.s[id_size - 1] == '#') id_size--;
    *target = NULL;
    if (!base || (base == id_size && !memcmp(ref->u.s, id->u.s, base))) {
        const char *fragment = hash ? hash + 1 : ref->u.s + ref->n;
        const size_t n = ref->n - (size_t)(fragment - ref->u.s);
        *target = !n                   ? s->doc.root
                  : fragment[0] == '/' ? hyb_schema_pointer(s, fragment, n)
                                       : hyb_schema_anchor(s, fragment, n);
    }
    if (*target) return HYBRID_OK;
    return hyb_schema_refuse(s, ref, "$ref",
                             "which leads to nothing in it: hybrid follows #/..., #name and the "
                             "schema's own $id");
}

/* ---- keywords ---- */

typedef enum hyb_keyword_role {
    HYB_KEYWORD_NOTE,   /* says nothing of values */
    HYB_KEYWORD_BASE,   /* of the value itself, or its parts */
    HYB_KEYWORD_SCALAR, /* the same, of texts and numbers and lengths: it can be turned round */
    HYB_KEYWORD_APPLY   /* leads to other schemas, or lists of values */
} hyb_keyword_role;

typedef struct hyb_keyword {
    const char *name;
    uint16_t role, types; /* of which types it speaks */
} hyb_keyword;

static const hyb_keyword hyb_keywords[] = {
    { "$anchor", HYB_KEYWORD_NOTE, 0 },
    { "$comment", HYB_KEYWORD_NOTE, 0 },
    { "$defs", HYB_KEYWORD_NOTE, 0 },
    { "$dynamicAnchor", HYB_KEYWORD_NOTE, 0 },
    { "$id", HYB_KEYWORD_NOTE, 0 },
    { "$ref", HYB_KEYWORD_APPLY, 0 },
    { "$schema", HYB_KEYWORD_NOTE, 0 },
    { "additionalItems", HYB_KEYWORD_BASE, HYB_IS_ARRAY },
    { "additionalProperties", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "allOf", HYB_KEYWORD_APPLY, 0 },
    { "anyOf", HYB_KEYWORD_APPLY, 0 },
    { "const", HYB_KEYWORD_APPLY, 0 },
    { "contentEncoding", HYB_KEYWORD_NOTE, 0 },
    { "contentMediaType", HYB_KEYWORD_NOTE, 0 },
    { "contentSchema", HYB_KEYWORD_NOTE, 0 },
    { "default", HYB_KEYWORD_NOTE, 0 },
    { "definitions", HYB_KEYWORD_NOTE, 0 },
    { "dependencies", HYB_KEYWORD_APPLY, 0 },
    { "dependentRequired", HYB_KEYWORD_APPLY, 0 },
    { "dependentSchemas", HYB_KEYWORD_APPLY, 0 },
    { "deprecated", HYB_KEYWORD_NOTE, 0 },
    { "description", HYB_KEYWORD_NOTE, 0 },
    { "else", HYB_KEYWORD_NOTE, 0 }, /* with if only, which reads it */
    { "enum", HYB_KEYWORD_APPLY, 0 },
    { "examples", HYB_KEYWORD_NOTE, 0 },
    { "exclusiveMaximum", HYB_KEYWORD_SCALAR, HYB_IS_NUMBER },
    { "exclusiveMinimum", HYB_KEYWORD_SCALAR, HYB_IS_NUMBER },
    { "format", HYB_KEYWORD_BASE, HYB_IS_STRING },
    { "if", HYB_KEYWORD_APPLY, 0 },
    { "items", HYB_KEYWORD_BASE, HYB_IS_ARRAY },
    { "maxItems", HYB_KEYWORD_SCALAR, HYB_IS_ARRAY },
    { "maxLength", HYB_KEYWORD_SCALAR, HYB_IS_STRING },
    { "maxProperties", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "maximum", HYB_KEYWORD_SCALAR, HYB_IS_NUMBER },
    { "minItems", HYB_KEYWORD_SCALAR, HYB_IS_ARRAY },
    { "minLength", HYB_KEYWORD_SCALAR, HYB_IS_STRING },
    { "minProperties", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "minimum", HYB_KEYWORD_SCALAR, HYB_IS_NUMBER },
    { "multipleOf", HYB_KEYWORD_SCALAR, HYB_IS_NUMBER },
    { "not", HYB_KEYWORD_APPLY, 0 },
    { "oneOf", HYB_KEYWORD_APPLY, 0 },
    { "pattern", HYB_KEYWORD_SCALAR, HYB_IS_STRING },
    { "patternProperties", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "prefixItems", HYB_KEYWORD_BASE, HYB_IS_ARRAY },
    { "properties", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "propertyNames", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "readOnly", HYB_KEYWORD_NOTE, 0 },
    { "required", HYB_KEYWORD_BASE, HYB_IS_OBJECT },
    { "then", HYB_KEYWORD_NOTE, 0 },
    { "title", HYB_KEYWORD_NOTE, 0 },
    { "type", HYB_KEYWORD_BASE, HYB_IS_ANY },
    { "uniqueItems", HYB_KEYWORD_BASE, HYB_IS_ARRAY },
    { "writeOnly", HYB_KEYWORD_NOTE, 0 },
};

/* Which keyword a key is; HYB_COUNT(hyb_keywords): none that is known. x-... are notes of tools. */
static size_t hyb_keyword_find(const hyb_json *key)
{
    size_t i;
    for (i = 0; i < HYB_COUNT(hyb_keywords) && !hyb_json_is(key, hyb_keywords[i].name); i++) {}
    return i;
}

static bool hyb_keyword_note(const hyb_json *key, size_t k)
{
    return k < HYB_COUNT(hyb_keywords) ? hyb_keywords[k].role == HYB_KEYWORD_NOTE
                                       : key->n > 2 && !memcmp(key->u.s, "x-", 2);
}

static hybrid_result hyb_keyword_unknown(const hyb_schema *s, const hyb_json *key)
{
    return hyb_schema_refuse(s, key, key->u.s, "which hybrid cannot keep to");
}

/* The shape of what stands behind a keyword: list, object, text. */
static hybrid_result hyb_keyword_check(const hyb_schema *s, const hyb_json *key)
{
    static const char *const lists[] = { "allOf", "anyOf", "oneOf", "enum", "required", "prefixItems" };
    static const char *const objects[] = { "properties", "patternProperties", "dependencies", "dependentRequired",
                                           "dependentSchemas" };
    const hyb_json *v = key + 1, *item;
    uint32_t i;
    size_t k;
    for (k = 0; k < HYB_COUNT(lists); k++)
        if (hyb_json_is(key, lists[k]) && v->type != HYB_JSON_ARRAY)
            return hyb_schema_wrong(s, v, "a list belongs here");
    for (k = 0; k < HYB_COUNT(objects); k++)
        if (hyb_json_is(key, objects[k]) && v->type != HYB_JSON_OBJECT)
            return hyb_schema_wrong(s, v, "an object belongs here");
    if ((hyb_json_is(key, "pattern") || hyb_json_is(key, "format")) && v->type != HYB_JSON_STRING)
        return hyb_schema_wrong(s, v, "a text belongs here");
    if (hyb_json_is(key, "required"))
        for (i = 0, item = hyb_json_first(v); i < v->n; i++, item = hyb_json_next(item))
            if (item->type != HYB_JSON_STRING) return hyb_schema_wrong(s, item, "the name of a member belongs here");
    if (hyb_json_is(key, "$schema") && (v->type != HYB_JSON_STRING || !strstr(v->u.s, "json-schema.org/")))
        return hyb_schema_refuse(s, v, "$schema", "which names a dialect that hybrid does not know");
    if (hyb_json_is(key, "uniqueItems") && (v->type != HYB_JSON_BOOL || v->u.b)) return hyb_keyword_unknown(s, key);
    if (hyb_json_is(key, "type") && !hyb_schema_types(v))
        return hyb_schema_wrong(s, v,
                                "a type is null, boolean, integer, number, string, array, object, or a list of "
                                "them");
    return HYBRID_OK;
}
#endif
