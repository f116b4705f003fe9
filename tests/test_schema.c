/* JSON Schema: which texts a schema allows, against the cases of the JSON Schema Test Suite (every group that compiles:
 * what is valid is accepted in the documented layout, what is not is refused in any order of its members), against own
 * cases, and (tests/oracle/check_schema.py) against the validator of Python on random walks; what is refused, and
 * where; limits; memory that runs out; answers of a session. */
#include "private.h"

static hybrid_runtime *rt;

static hybrid_result schema(const char *text, size_t size, hybrid_grammar **g, hybrid_error *err)
{
    hybrid_grammar_desc d;
    memset(&d, 0, sizeof d);
    d.schema = text;
    d.schema_size = size;
    return hybrid_grammar_create(rt, &d, g, err);
}

/* Whether a text is one of the grammar's. */
static bool whole(hybrid_matcher *m, const char *text, size_t n)
{
    hybrid_matcher_reset(m);
    return !hybrid_matcher_accept(m, text, n, NULL) && hybrid_matcher_can_end(m);
}

/* ---- values, written in every order of their members ---- */

typedef struct paper {
    char text[65536];
    size_t n;
    uint32_t order;     /* what is left of the number of the order */
    bool spaces, large; /* large: a number is beyond the layout */
} paper;

static bool put(void *user, const void *data, size_t n)
{
    paper *p = (paper *)user;
    if (n > sizeof p->text - p->n) return false;
    memcpy(p->text + p->n, data, n);
    p->n += n;
    return true;
}

static void put_number(paper *p, const hyb_json *v)
{
    static hyb_figures digits;
    char text[HYB_DIGITS_MAX + 4];
    if (hyb_figures_of(v, &digits, NULL)) {
        p->large = true;
        put(p, "0", 1);
        return;
    }
    if (digits.n > (hyb_figures_whole(&digits) ? 18 : 15) || digits.n - digits.n_whole > 14) p->large = true;
    put(p, text, hyb_figures_write(&digits, text));
}

static void put_value(paper *p, const hyb_json *v)
{
    const bool object = v->type == HYB_JSON_OBJECT;
    const hyb_json *members[16], *child = hyb_json_first(v);
    uint32_t i, n = v->n;
    if (v->type < HYB_JSON_ARRAY) {
        if (hyb_json_is_number(v))
            put_number(p, v);
        else
            hyb_json_write(v, put, p);
        return;
    }
    put(p, object ? "{" : "[", 1);
    for (i = 0; i < n; i++, child = object ? hyb_json_next_member(child) : hyb_json_next(child))
        if (object && i < 16) members[i] = child;
    for (i = 0, child = hyb_json_first(v); i < v->n; i++) {
        if (i) put(p, ", ", p->spaces ? 2 : 1);
        if (object) { /* one of those that are left */
            const uint32_t k = p->order % n;
            p->order /= n;
            child = members[k];
            members[k] = members[--n];
            hyb_json_quote(child->u.s, child->n, false, put, p);
            put(p, ": ", p->spaces ? 2 : 1);
            put_value(p, child + 1);
        } else {
            put_value(p, child);
            child = hyb_json_next(child);
        }
    }
    put(p, object ? "}" : "]", 1);
}

/* How many orders there are. */
static uint32_t orders(const hyb_json *v)
{
    const hyb_json *at = v, *end = v + v->skip;
    uint32_t n = 1, i;
    for (; at < end; at++)
        for (i = 2; at->type == HYB_JSON_OBJECT && i <= at->n && n < 100000; i++) n *= i;
    return n;
}

/* Whether a value is accepted in any order of its members, with spaces and without: both or none. */
static bool accepted(hybrid_matcher *m, const hyb_json *v, bool *large)
{
    static paper p;
    const uint32_t n = orders(v);
    uint32_t i;
    bool found = false, spaced;
    CHECK(n <= 5040, "%u orders", n);
    for (i = 0; i < n && !found; i++) {
        p.large = p.spaces = false;
        p.n = 0;
        p.order = i;
        put_value(&p, v);
        found = whole(m, p.text, p.n);
        p.spaces = true;
        p.n = 0;
        p.order = i;
        put_value(&p, v);
        spaced = whole(m, p.text, p.n);
        CHECK(spaced == found, "spaces matter: %.*s", (int)p.n, p.text);
    }
    *large = p.large;
    return found;
}

/* ---- the suite ---- */

typedef struct tally {
    unsigned groups, compiled, empty, refused, valid, invalid, narrow;
} tally;

/* The text of a schema; that of draft 7 says so. */
static void schema_text(paper *p, const hyb_json *v, bool draft7)
{
    static const char head[] = "{\"$schema\":\"http://json-schema.org/draft-07/schema#\"";
    memset(p, 0, sizeof *p);
    hyb_json_write(v, put, p);
    if (!draft7 || v->type != HYB_JSON_OBJECT || hyb_json_get(v, "$schema")) return;
    memmove(p->text + sizeof head - 1 + (v->n > 0), p->text + 1, p->n - 1);
    memcpy(p->text, head, sizeof head - 1);
    if (v->n) p->text[sizeof head - 1] = ',';
    p->n += sizeof head - 2 + (v->n > 0);
}

/* Formats here are narrower than their standards (grammar.h says how), and never only notes. */
static bool narrower(const char *file, const char *name, bool valid)
{
    return valid && strstr(file, "format") &&
           (strstr(name, "only an annotation") || strstr(name, "leap second") || strstr(name, "lower") ||
            strstr(name, "quoted") || strstr(name, "literal") || strstr(name, "case-insensitive") ||
            strstr(name, "fifteen nines") || strstr(file, "email"));
}

static void group(const char *file, const hyb_json *g, bool draft7, tally *t)
{
    static paper text;
    const hyb_json *name = hyb_json_get(g, "description"), *tests = hyb_json_get(g, "tests"), *row;
    hybrid_grammar *grammar;
    hybrid_matcher *m = NULL;
    hybrid_error err;
    hybrid_result r;
    uint32_t i;
    schema_text(&text, hyb_json_get(g, "schema"), draft7);
    t->groups++;
    r = schema(text.text, text.n, &grammar, &err);
    if (r && strncmp(err.message, "no value fits", 13)) {
        t->refused++;
        CHECK(strstr(err.message, "the schema uses '") == err.message ||
                  strstr(err.message, "the schema is wrong at ") == err.message,
              "%s, %s: %s", file, name->u.s, err.message);
        if (getenv("HYBRID_VERBOSE")) printf("%s, %s: %s\n", file, name->u.s, err.message);
        return;
    }
    if (r)
        t->empty++;
    else {
        t->compiled++;
        CHECK(!hybrid_matcher_create(grammar, &m, &err), "%s", err.message);
    }
    for (i = 0, row = hyb_json_first(tests); i < tests->n; i++, row = hyb_json_next(row)) {
        const bool valid = hyb_json_get(row, "valid")->u.b;
        const char *what = hyb_json_get(row, "description")->u.s;
        bool large = false;
        const bool found = m && accepted(m, hyb_json_get(row, "data"), &large);
        if (valid && !found && (large || narrower(file, what, valid))) {
            t->narrow++;
            if (getenv("HYBRID_VERBOSE")) printf("narrow: %s, %s, %s\n", file, name->u.s, what);
            continue;
        }
        CHECK(found == valid, "%s, %s, %s: %s, but it is %s", file, name->u.s, what, valid ? "valid" : "not valid",
              found ? "accepted" : "refused");
        t->valid += valid;
        t->invalid += !valid;
    }
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(grammar);
}

static const char *const files[] = {
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anchor",
    "anyOf",
    "boolean_schema",
    "const",
    "contains",
    "content",
    "default",
    "definitions",
    "defs",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "dynamicRef",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if-then-else",
    "infinite-loop-detection",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "ref",
    "refRemote",
    "required",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "vocabulary",
    "optional/anchor",
    "optional/bignum",
    "optional/cross-draft",
    "optional/dependencies-compatibility",
    "optional/ecmascript-regex",
    "optional/float-overflow",
    "optional/id",
    "optional/no-schema",
    "optional/non-bmp-regex",
    "optional/refOfUnknownKeyword",
    "optional/unknownKeyword",
    "optional/format/date",
    "optional/format/date-time",
    "optional/format/duration",
    "optional/format/ecmascript-regex",
    "optional/format/email",
    "optional/format/hostname",
    "optional/format/idn-email",
    "optional/format/ipv4",
    "optional/format/ipv6",
    "optional/format/json-pointer",
    "optional/format/regex",
    "optional/format/time",
    "optional/format/unknown",
    "optional/format/uri",
    "optional/format/uuid",
};

static void suite(const char *draft, const tally *want)
{
    tally t;
    size_t n, i;
    unsigned found = 0;
    memset(&t, 0, sizeof t);
    TEST(draft);
    for (i = 0; i < HYB_COUNT(files); i++) {
        char name[200];
        const char *path;
        hyb_json_doc doc;
        hybrid_error err;
        const hyb_json *g;
        char *text;
        uint32_t k;
        snprintf(name, sizeof name, "json-schema-suite/tests/%s/%s.json", draft, files[i]);
        path = data_path(name);
        text = path ? read_file(path, &n) : NULL;
        if (!text) continue; /* not every draft has all */
        found++;
        CHECK(!hyb_json_parse(rt, text, n, 64, 1000000, &doc, &err), "%s: %s", name, err.message);
        for (k = 0, g = hyb_json_first(doc.root); k < doc.root->n; k++, g = hyb_json_next(g))
            group(files[i], g, draft[5] == '7', &t);
        hyb_json_free(&doc);
        free(text);
    }
    if (!found) {
        SKIP("no json-schema-suite in the data (HYBRID_DATA)");
        return;
    }
    printf("%s: %u files, %u groups: %u compiled, %u that nothing fits, %u refused by name; %u valid accepted, %u "
           "invalid refused, %u beyond the layout\n",
           draft, found, t.groups, t.compiled, t.empty, t.refused, t.valid, t.invalid, t.narrow);
    CHECK(!memcmp(&t, want, sizeof t), "the counts have changed");
}

static void suites(void)
{
    static const tally seven = { 311, 229, 10, 72, 513, 506, 17 }, twenty = { 451, 241, 11, 199, 577, 546, 28 };
    suite("draft7", &seven);
    suite("draft2020-12", &twenty);
}

/* ---- own cases ---- */

/* What must be accepted (after a +) and refused (after a -), one behind the other. */
static void says(const char *text, const char *const *cases)
{
    hybrid_grammar *g;
    hybrid_matcher *m;
    hybrid_error err;
    if (schema(text, 0, &g, &err)) {
        CHECK(false, "%s: %s", text, err.message);
        return;
    }
    CHECK(!hybrid_matcher_create(g, &m, &err), "%s", err.message);
    for (; *cases; cases++) CHECK(whole(m, *cases + 1, strlen(*cases + 1)) == (**cases == '+'), "%s: %s", text, *cases);
    hybrid_matcher_destroy(m);
    hybrid_grammar_destroy(g);
}

#define SAYS(text, ...) \
    do { \
        static const char *const cases[] = { __VA_ARGS__, NULL }; \
        says(text, cases); \
    } while (0)

static void layout(void)
{
    TEST("how values are written");
    SAYS("true", "+null", "+[1, {\"a\":\"b\"}]", "+{\"b\":1,\"a\": -0.5}", "-", "- 1", "-1 ", "-[1,  2]", "-[ 1]",
         "-[1 ]", "-{\"a\" :1}", "-\n1");
    SAYS("{\"type\":\"string\"}", "+\"\xC3\xA9\xF0\x9F\x98\x80\x7F/\"", "+\"\\n\\\"\\\\\\u001f\"", "-\"\\/\"",
         "-\"\\u0041\"", "-\"\\u001F\"", "-\"\n\"", "-\"\\u000a\"", "-\"a", "-\"\xC0\x80\"", "-\"\xED\xA0\x80\"");
    SAYS("{\"type\":\"integer\"}", "+0", "+-12", "+123456789012345678", "-1234567890123456789", "-01", "--0", "-1.0",
         "-1e2", "-+1");
    SAYS("{\"type\":\"number\"}", "+0.50", "+-1.0", "+12345678901234.5", "-123456789012345.5", "+1e10", "+-1.5E-99",
         "-1e100", "-1e0", "-.5", "-5.", "--0.0");
    SAYS("{\"properties\":{\"b\":{\"type\":\"integer\"},\"a\":{\"type\":\"null\"}},\"required\":[\"c\",\"b\"],\"type\":"
         "\"object\","
         "\"additionalProperties\":{\"type\":\"boolean\"}}",
         "+{\"b\":1,\"a\":null,\"c\":true,\"d\":false}", "+{\"b\": 1, \"c\": true}", "-{\"a\":null,\"b\":1,\"c\":true}",
         "-{\"b\":1,\"d\":true,\"c\":true}", "-{\"b\":1}", "-{\"b\":1,\"c\":true,\"a\":null}",
         "-{\"b\":1,\"c\":true,\"b\":true}");
    SAYS("{\"type\":\"object\",\"properties\":{\"a\":true,\"b\":true,\"c\":true},\"additionalProperties\":false,"
         "\"minProperties\":2,\"maxProperties\":2}",
         "+{\"a\":1,\"c\":1}", "-{\"a\":1}", "-{\"a\":1,\"b\":1,\"c\":1}", "-{}");
}

static void bounds(void)
{
    TEST("bounds");
    SAYS("{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":105}", "+-12", "--13", "+-9", "+0", "+99", "+104",
         "-105", "-1000", "--100");
    SAYS("{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":0.25}", "-0", "-0.0", "+0.00001", "+0.25", "+0.2500",
         "-0.2501", "-0.26", "-1", "-1e-2", "--0.1");
    SAYS("{\"type\":\"number\",\"minimum\":-1.5,\"maximum\":-0.5}", "+-1.5", "--1.51", "+-1", "+-0.5", "--0.4", "-0",
         "-0.5", "--2");
    SAYS("{\"minimum\":1e20}", "-1", "-999999999999999999", "+\"a\"");
    SAYS("{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":8}", "+14", "+700", "-7", "-15", "-0");
    SAYS("{\"const\":1.50}", "+1.5", "-1.50", "-1");
    SAYS("{\"enum\":[1e3,-0.0,100000000000000000000]}", "+1000", "+0", "+100000000000000000000", "-1e3");
    SAYS("{\"type\":[\"integer\",\"null\"],\"not\":{\"minimum\":3}}", "+2", "-3", "+-5", "-null");
    SAYS("{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "+0.5", "+2.50", "-2", "-2.0", "-2e3");
}

static void texts(void)
{
    TEST("texts");
    SAYS("{\"type\":\"string\",\"pattern\":\"^[a-c]+$\",\"minLength\":2,\"maxLength\":3}", "+\"ab\"", "+\"cab\"",
         "-\"a\"", "-\"abca\"", "-\"ad\"");
    SAYS("{\"type\":\"string\",\"pattern\":\"b$|^\\\\u00e9\",\"maxLength\":2}", "+\"ab\"", "+\"\xC3\xA9\"",
         "+\"\xC3\xA9z\"", "-\"ba\"", "-\"\"");
    SAYS("{\"type\":\"string\",\"not\":{\"pattern\":\"a\"}}", "+\"bc\"", "-\"bac\"", "+\"\"");
    SAYS("{\"pattern\":\"^$|^a?(?:x|yz)*?\\\\.$\",\"type\":\"string\"}", "+\"\"", "+\"axyz.\"", "+\".\"", "-\"a\"",
         "-\"ay.\"");
    SAYS("{\"pattern\":\"^[\\\\w-]+\\\\s\\\\D{2}[^\\\\d]$\",\"type\":\"string\"}", "+\"a-1 xyz\"", "+\"a\\tb\\\"c\"",
         "-\"a 1yz\"");
    SAYS("{\"type\":\"string\",\"format\":\"date\"}", "+\"2024-02-29\"", "-\"2023-02-29\"", "-\"1900-02-29\"",
         "+\"2000-02-29\"", "-\"2024-13-01\"", "-\"2024-04-31\"", "-\"0000-01-01\"");
    SAYS("{\"type\":\"string\",\"format\":\"email\"}", "+\"a.b+c@x-y.org\"", "-\"a..b@c.d\"", "-\"a@b\"", "-\"@b.c\"",
         "-\"a@-b.c\"");
    SAYS("{\"enum\":[\"a\",\"\xE2\x82\xAC\\n\",null],\"maxLength\":1}", "+\"a\"", "+null", "-\"\xE2\x82\xAC\\n\"",
         "-\"b\"");
}

static void structure(void)
{
    TEST("lists, references, choices");
    SAYS("{\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"k\":{\"type\":"
         "\"array\",\"items\":"
         "{\"$ref\":\"#/$defs/t\"}}},\"required\":[\"v\"],\"additionalProperties\":false}},\"$ref\":\"#/$defs/t\"}",
         "+{\"v\":1,\"k\":[{\"v\":2},{\"v\":3,\"k\":[]}]}", "-{\"v\":1,\"k\":[{}]}");
    SAYS("{\"prefixItems\":[{\"type\":\"null\"},{\"const\":[1,{\"a\":2}]}],\"items\":{\"type\":\"boolean\"},\"type\":"
         "\"array\","
         "\"minItems\":2,\"maxItems\":3}",
         "+[null,[1,{\"a\":2}]]", "+[null,[1,{\"a\":2}],true]", "-[null]", "-[null,[1,{\"a\":2}],1]",
         "-[null,[1,{\"a\":2}],true,true]");
    SAYS("{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"a\"},\"x\":{\"type\":\"integer\"}},"
         "\"required\":["
         "\"kind\",\"x\"],\"additionalProperties\":false},{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":"
         "\"b\"}},"
         "\"required\":[\"kind\"],\"additionalProperties\":false}]}",
         "+{\"kind\":\"a\",\"x\":1}", "+{\"kind\":\"b\"}", "-{\"kind\":\"b\",\"x\":1}", "-{\"kind\":\"a\"}");
    SAYS("{\"oneOf\":[{\"type\":\"integer\",\"minimum\":5},{\"type\":\"integer\",\"maximum\":7}]}", "+4", "-5", "-7",
         "+8");
    SAYS("{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"null\"},\"y$\":{\"type\":[\"null\","
         "\"integer\"]}},"
         "\"additionalProperties\":false}",
         "+{\"xa\":null}", "+{\"ay\":1}", "+{\"xy\":null}", "-{\"xy\":1}", "-{\"a\":null}", "+{}");
    SAYS("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}},"
         "\"additionalProperties\":"
         "false,\"if\":{\"required\":[\"a\"]},\"then\":{\"required\":[\"b\"]}}",
         "+{\"a\":1,\"b\":2}", "-{\"a\":1}", "+{\"b\":1}", "+{}");
}

/* A schema that is refused: the sentence says what, and where. */
static void wrong(const char *text, hybrid_result want, const char *words)
{
    hybrid_grammar *g = (hybrid_grammar *)&rt;
    hybrid_error err;
    const hybrid_result r = schema(text, 0, &g, &err);
    if (!r) hybrid_grammar_destroy(g);
    CHECK(r == want && !g && strstr(err.message, words), "%s: %d, %s; wanted: %s", text, r, r ? err.message : "",
          words);
}

static void refused(void)
{
    TEST("what is refused");
    wrong("{\"properties\":{\"a\":{\"contains\":{}}}}", HYBRID_ERROR_UNSUPPORTED, "'contains' at /properties/a");
    wrong("{\"frobnicate\":1}", HYBRID_ERROR_UNSUPPORTED, "'frobnicate'");
    wrong("{\"not\":{\"items\":{\"type\":\"null\"}}}", HYBRID_ERROR_UNSUPPORTED,
          "'items' at /not/items, inside of a not");
    wrong("{\"pattern\":\"(?=a)\"}", HYBRID_ERROR_UNSUPPORTED, "'pattern' at /pattern");
    wrong("{\"pattern\":\"(a)\\\\1\"}", HYBRID_ERROR_UNSUPPORTED, "back reference");
    wrong("{\"format\":\"uri\"}", HYBRID_ERROR_UNSUPPORTED, "'format' at /format");
    wrong("{\"$ref\":\"http://x.y/z\"}", HYBRID_ERROR_UNSUPPORTED, "'$ref'");
    wrong("{\"$ref\":\"#\"}", HYBRID_ERROR_FORMAT, "without end");
    wrong("{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", HYBRID_ERROR_FORMAT, "without end");
    wrong("{\"multipleOf\":0.01}", HYBRID_ERROR_UNSUPPORTED, "'multipleOf'");
    wrong("{\"minLength\":-1}", HYBRID_ERROR_FORMAT, "at /minLength");
    wrong("{\"type\":\"text\"}", HYBRID_ERROR_FORMAT, "at /type");
    wrong("{\"items\":3}", HYBRID_ERROR_FORMAT, "at /items");
    wrong("{", HYBRID_ERROR_FORMAT, "JSON, line 1");
    wrong("false", HYBRID_ERROR_FORMAT, "no value fits");
    wrong("{\"type\":\"integer\",\"minimum\":1e20}", HYBRID_ERROR_FORMAT, "no value fits");
    wrong("{\"type\":\"string\",\"minLength\":100000}", HYBRID_ERROR_LIMIT, "65536");
    wrong("{\"type\":\"array\",\"minItems\":100000000}", HYBRID_ERROR_LIMIT, "262144");
    wrong("{\"type\":\"object\",\"minProperties\":100000000}", HYBRID_ERROR_UNSUPPORTED, "'minProperties'");
    wrong("{\"pattern\":\"^(a|b)*a(a|b){20}$\"}", HYBRID_ERROR_LIMIT, "65536");
    wrong("{\"pattern\":\"((((a{99}){99}){99}){99}){99}\"}", HYBRID_ERROR_LIMIT, "262144");
}

/* ---- memory that runs out ---- */

static size_t left;
static void *scarce_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    return left && left-- ? malloc(size) : NULL;
}
static void scarce_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

static void memory(void)
{
    static const char text[] =
        "{\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":2}},\"type\":[\"object\","
        "\"array\",\"number\"],"
        "\"properties\":{\"a\":{\"enum\":[\"x\",1,[2]]},\"b\":{\"pattern\":\"^a+$\",\"maxLength\":3},\"c\":{\"format\":"
        "\"date\"},\"d\":{\"$ref\":\"#/$defs/t\"}},"
        "\"patternProperties\":{\"^p\":{\"minimum\":1}},\"propertyNames\":{\"maxLength\":3},\"required\":[\"a\"],"
        "\"oneOf\":[{\"type\":\"array\",\"maxItems\":1},{\"type\":\"object\",\"not\":{\"required\":[\"z\"]}},{"
        "\"multipleOf\":3}]}";
    hybrid_runtime_desc d;
    hybrid_runtime *scarce;
    hybrid_grammar_desc gd;
    hybrid_grammar *g = NULL;
    hybrid_error err;
    size_t allowed;
    TEST("memory that runs out");
    memset(&d, 0, sizeof d);
    memset(&gd, 0, sizeof gd);
    d.allocator.alloc = scarce_alloc;
    d.allocator.free = scarce_free;
    d.n_threads = 1;
    left = SIZE_MAX;
    gd.schema = text;
    CHECK(!hybrid_runtime_create(&d, &scarce, &err), "%s", err.message);
    for (allowed = 0; allowed < 20000 && !g; allowed++) {
        hybrid_result r;
        left = allowed;
        r = hybrid_grammar_create(scarce, &gd, &g, &err);
        CHECK(r ? r == HYBRID_ERROR_MEMORY && !g : g != NULL, "%u: %s", (unsigned)allowed, err.message);
        if (r && r != HYBRID_ERROR_MEMORY) break;
    }
    CHECK(g && allowed > 200, "%u allocations", (unsigned)allowed);
    printf("%u allocations, each of which has failed\n", (unsigned)allowed);
    hybrid_grammar_destroy(g);
    left = SIZE_MAX;
    hybrid_runtime_destroy(scarce);
}

/* ---- answers ---- */

static hybrid_model *load(const char *path)
{
    hybrid_model_desc md;
    hybrid_model *model = NULL;
    hybrid_error err;
    memset(&md, 0, sizeof md);
    md.source.path = path;
    CHECK(!hybrid_model_load(rt, &md, &model, &err), "%s", err.message);
    return model;
}

/* All pieces of the answer that runs. */
static size_t hear(hybrid_session *s, char *text, size_t room)
{
    const char *piece;
    size_t n = 0;
    while ((piece = hybrid_session_next(s)) != NULL)
        if (n + strlen(piece) < room) {
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
    text[n] = 0;
    return n;
}

/* At temperature 2: every answer that ended fits; the form is for one answer, and comes before the session's own. */
static void answers(void)
{
    static const char *const forms[] = {
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"age\":{\"type\":"
        "\"integer\",\"minimum\":0,"
        "\"maximum\":120}},\"required\":[\"name\",\"age\"],\"additionalProperties\":false}",
        "{\"type\":\"array\",\"items\":{\"enum\":[\"sword\",\"bread\",7,null]},\"minItems\":1,\"maxItems\":3}"
    };
    hybrid_session_desc sd;
    hybrid_session_info info;
    hybrid_grammar *g, *yes;
    hybrid_grammar_desc gd;
    hybrid_matcher *m;
    hybrid_session *s;
    hybrid_error err;
    hybrid_model *model = load("examples/data/stories260K-q8_0.gguf");
    char text[4096];
    int i;
    TEST("answers that fit a schema");
    if (!model) return;
    memset(&sd, 0, sizeof sd);
    memset(&gd, 0, sizeof gd);
    sd.sampler.temperature = 2;
    CHECK(!hybrid_session_create(model, &sd, &s, &err), "%s", err.message);
    gd.gbnf = "root ::= \"yes\"";
    CHECK(!hybrid_grammar_create(rt, &gd, &yes, &err) && !hybrid_session_set_grammar(s, yes, &err), "%s", err.message);
    for (i = 0; i < 40; i++) {
        size_t n;
        CHECK(!schema(forms[i & 1], 0, &g, &err) && !hybrid_matcher_create(g, &m, &err), "%s", err.message);
        CHECK(!hybrid_session_say_json(s, "Who?", forms[i & 1]), "said");
        n = hear(s, text, sizeof text);
        hybrid_session_describe(s, &info);
        CHECK(!hybrid_session_result(s, &err) && info.stop == HYBRID_STOP_END && whole(m, text, n), "%d: %s", info.stop,
              text);
        hybrid_matcher_destroy(m);
        hybrid_grammar_destroy(g);
        if (i % 3 == 0) CHECK(hybrid_session_say_json(s, "Who?", "{") == HYBRID_ERROR_FORMAT, "no schema");
        if (i % 3 == 1) {
            CHECK(!hybrid_session_say(s, "Yes?") && hear(s, text, sizeof text) == 3 && !strcmp(text, "yes"), "%s",
                  text);
        } else if (i % 4 == 3)
            hybrid_session_reset(s);
        if (i % 5 == 4)
            CHECK(!hybrid_session_set_grammar(s, i % 2 ? yes : NULL, &err) && !hybrid_session_set_grammar(s, yes, &err),
                  "%s", err.message);
    }
    hybrid_session_destroy(s);
    hybrid_grammar_destroy(yes);
    hybrid_model_destroy(model);
}

/* ---- samples ---- */

static const char *const sample_forms[] = {
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":16},\"kind\":{"
    "\"enum\":[\"elf\",\"dwarf\",\"human\"]},\"age\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":900},\"gold\":{"
    "\"type\":\"number\",\"minimum\":0,\"exclusiveMaximum\":50},\"born\":{\"type\":\"string\",\"format\":\"date\"},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z]{1,8}$\"},\"maxItems\":2}},"
    "\"required\":[\"name\",\"kind\",\"age\"],\"additionalProperties\":false}",
    "{\"type\":\"object\",\"properties\":{\"mail\":{\"type\":\"string\",\"format\":\"email\",\"maxLength\":30},"
    "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},\"word\":{\"type\":\"string\","
    "\"pattern\":\"^[^aeiou]{1,12}$\"}},"
    "\"required\":[\"when\",\"word\"],\"additionalProperties\":false}",
    "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":-50,\"maximum\":12345},{\"type\":"
    "\"null\"},{\"type\":\"string\",\"pattern\":\"^[A-Z][a-z]{1,6}( [0-9]{2})?$\"},{\"type\":\"number\",\"minimum\":-1,"
    "\"maximum\":0.25}]},\"minItems\":1,\"maxItems\":5}",
    "{\"$defs\":{\"node\":{\"type\":\"object\",\"properties\":{\"value\":{\"type\":\"boolean\"},\"next\":{\"type\":"
    "\"array\",\"items\":{\"$ref\":\"#/$defs/node\"},\"maxItems\":1}},\"required\":[\"value\"],"
    "\"additionalProperties\":false}},\"$ref\":\"#/$defs/node\"}",
};

enum { SAMPLE_CROWD = 64 };

typedef struct sample {
    hybrid_session *session;
    int form;
    size_t size;
    char text[4096];
} sample;

/* Of the first form, judged by what it says, without the grammar. */
static int sample_wrong(const char *text, size_t size)
{
    hyb_json_doc doc;
    const hyb_json *v;
    int bad;
    if (hyb_json_parse(rt, text, size, 64, 1000, &doc, NULL)) return 1;
    v = hyb_json_get(doc.root, "age");
    bad = !v || v->type != HYB_JSON_INT || v->u.i < 1 || v->u.i > 900;
    v = hyb_json_get(doc.root, "kind");
    bad |= !v || !(hyb_json_is(v, "elf") || hyb_json_is(v, "dwarf") || hyb_json_is(v, "human"));
    v = hyb_json_get(doc.root, "name");
    bad |= !v || v->type != HYB_JSON_STRING || !v->n;
    v = hyb_json_get(doc.root, "gold");
    bad |= v && !(v->type == HYB_JSON_INT ? v->u.i >= 0 && v->u.i < 50 : v->u.d >= 0 && v->u.d < 50);
    hyb_json_free(&doc);
    return bad;
}

/* The next document of one session. */
static void sample_begin(sample *a, int number, uint64_t seed, hybrid_grammar *const *forms)
{
    hybrid_sampler_desc sampler;
    hybrid_answer_desc how;
    hybrid_error err;
    memset(&sampler, 0, sizeof sampler);
    memset(&how, 0, sizeof how);
    sampler.temperature = 2;
    sampler.seed = seed + (uint64_t)number; /* hybrid_session_reset begins with the same numbers again */
    how.sampler = &sampler;
    a->form = number % (int)HYB_COUNT(sample_forms);
    a->size = 0;
    hybrid_session_reset(a->session);
    CHECK(!hybrid_session_set_grammar(a->session, forms[a->form], &err), "%s", err.message);
    CHECK(!hybrid_session_answer(a->session, "A villager, as JSON.", &how), "begun");
}

/* With HYBRID_SCHEMA_SAMPLES=N: so many documents of SmolLM2 at temperature 2, 64 at a time; HYBRID_SCHEMA_SEED: others
 * than without. Each that was not cut is read as JSON. HYBRID_SCHEMA_OUT: a file for tests/oracle/check_samples.py,
 * which judges them by another validator; HYBRID_SCHEMA_FORCED=0: without the shortcut for forced spans. */
static void samples(void)
{
    const char *count = getenv("HYBRID_SCHEMA_SAMPLES"), *models = getenv("HYBRID_MODELS");
    const char *first = getenv("HYBRID_SCHEMA_SEED"), *shortcut = getenv("HYBRID_SCHEMA_FORCED");
    const uint64_t seed = first ? (uint64_t)atoi(first) : 1;
    const int n = count ? atoi(count) : 0;
    static sample all[SAMPLE_CROWD];
    hybrid_grammar *forms[HYB_COUNT(sample_forms)];
    hybrid_session_desc sd;
    hybrid_context_desc cd;
    hybrid_context *ctx;
    hybrid_crowd *crowd;
    hybrid_model *model;
    hybrid_session *who;
    hybrid_piece piece;
    hybrid_error err;
    FILE *out = n && getenv("HYBRID_SCHEMA_OUT") ? fopen(getenv("HYBRID_SCHEMA_OUT"), "wb") : NULL;
    char path[400];
    int i, begun = 0, done = 0, cut = 0, bad = 0;
    long ids = 0;
    TEST("samples of SmolLM2");
    snprintf(path, sizeof path, "%.300s/SmolLM2-135M-Instruct.Q4_1.gguf", models ? models : "models");
    if (!n || (model = load(path)) == NULL) return;
    memset(&sd, 0, sizeof sd);
    memset(&cd, 0, sizeof cd);
    cd.n_seq = SAMPLE_CROWD;
    cd.n_ctx = SAMPLE_CROWD * 320;
    CHECK(!hybrid_context_create(model, &cd, &ctx, &err) && !hybrid_crowd_create(ctx, &crowd, &err), "%s",
          err.message);
    for (i = 0; i < (int)HYB_COUNT(forms); i++) {
        CHECK(!schema(sample_forms[i], 0, &forms[i], &err), "%s", err.message);
        if (out) fprintf(out, "%s\036", sample_forms[i]);
    }
    sd.max_tokens = 240;
    sd.context_shared = ctx;
    sd.sample_forced = shortcut && !strcmp(shortcut, "0");
    for (i = 0; i < SAMPLE_CROWD; i++) {
        CHECK(!hybrid_session_create(model, &sd, &all[i].session, &err) &&
                  !hybrid_crowd_add(crowd, all[i].session, 1, &err),
              "%s", err.message);
        if (begun < n) sample_begin(&all[i], begun++, seed, forms);
    }
    while (done < n && !hybrid_crowd_step(crowd, UINT64_MAX, &err))
        while ((who = hybrid_crowd_next(crowd, &piece)) != NULL) {
            sample *a = all;
            while (a->session != who) a++;
            if (a->size + piece.size < sizeof a->text) memcpy(a->text + a->size, piece.text, piece.size);
            a->size += piece.size;
            ids += (long)piece.n_ids;
            if (piece.stop == HYBRID_STOP_NONE) continue;
            CHECK(a->size < sizeof a->text && (piece.stop == HYBRID_STOP_END || piece.stop == HYBRID_STOP_LIMIT),
                  "%d, %u bytes", piece.stop, (unsigned)a->size);
            cut += piece.stop != HYBRID_STOP_END;
            if (piece.stop == HYBRID_STOP_END) {
                if (!a->form) bad += sample_wrong(a->text, a->size);
                if (out) fprintf(out, "%d", a->form), fwrite(a->text, 1, a->size, out), fputc('\036', out);
                if (out) fflush(out);
            }
            done++;
            if (begun < n) sample_begin(a, begun++, seed, forms);
        }
    CHECK(done == n, "%s", err.message);
    CHECK(!bad, "%d answers do not fit", bad);
    printf("%d answers of SmolLM2 at temperature 2: %d cut, %d do not fit; %ld tokens\n", done, cut, bad, ids);
    if (out) fclose(out);
    hybrid_crowd_destroy(crowd);
    for (i = 0; i < SAMPLE_CROWD; i++) hybrid_session_destroy(all[i].session);
    for (i = 0; i < (int)HYB_COUNT(forms); i++) hybrid_grammar_destroy(forms[i]);
    hybrid_context_destroy(ctx);
    hybrid_model_destroy(model);
}

int main(void)
{
    if (hybrid_runtime_create(NULL, &rt, NULL)) return 1;
    layout();
    bounds();
    texts();
    structure();
    refused();
    memory();
    suites();
    answers();
    samples();
    hybrid_runtime_destroy(rt);
    return test_end();
}
