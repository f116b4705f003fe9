/* JSON: what is accepted, what it becomes, where an error is; doubles as text against Python's; limits; memory that
 * runs out. */
#include "private.h"
#include <locale.h>

static hybrid_runtime *rt;

typedef struct sink {
    char *data;
    size_t size, capacity;
} sink;
static bool put(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (s->size + n + 1 > s->capacity) return false;
    memcpy(s->data + s->size, data, n);
    s->data[s->size += n] = 0;
    return true;
}

static hybrid_result parse(const char *text, size_t n, hyb_json_doc *doc, hybrid_error *err)
{
    return hyb_json_parse(rt, text, n, 128, 100000, doc, err);
}

static void oracle(void)
{
    const char *path = "tests/oracle/data/json.json";
    hyb_json_doc doc;
    const hyb_json *list, *row;
    hybrid_error err;
    static char buffer[4096];
    uint32_t i;
    size_t n;
    char *text = read_file(path, &n);
    TEST("what Python says");
    if (!text) {
        SKIP("no %s: run from the root of the repository", path);
        return;
    }
    CHECK(!parse(text, n, &doc, &err), "%s", err.message);
    free(text);
    list = hyb_json_get(doc.root, "texts");
    for (i = 0, row = hyb_json_first(list); i < list->n; i++, row = hyb_json_next(row)) {
        const hyb_json *input = hyb_json_first(row), *want = hyb_json_next(input);
        hyb_json_doc d;
        sink s;
        s.data = buffer;
        s.size = 0;
        s.capacity = sizeof buffer;
        if (parse(input->u.s, input->n, &d, &err)) {
            CHECK(want->type == HYB_JSON_NULL, "%s: %s", input->u.s, err.message);
            continue;
        }
        CHECK(want->type == HYB_JSON_STRING, "%s is no JSON, but was read", input->u.s);
        CHECK(hyb_json_write(d.root, put, &s), "too long");
        if (!strstr(input->u.s, "\"a\":1,\"a\""))
            CHECK(want->type == HYB_JSON_STRING && !strcmp(buffer, want->u.s), "%s: got %s, want %s", input->u.s,
                  buffer, want->u.s);
        hyb_json_free(&d);
    }
    list = hyb_json_get(doc.root, "numbers");
    for (i = 0, row = hyb_json_first(list); i < list->n; i++, row = hyb_json_next(row)) {
        const hyb_json *input = hyb_json_first(row), *bits = hyb_json_next(input), *shortest = hyb_json_next(bits);
        double v = 0, want;
        uint64_t u = strtoull(bits->u.s, NULL, 16);
        char out[40];
        memcpy(&want, &u, 8);
        CHECK(hyb_decimal_read(input->u.s, input->u.s + input->n, &v) == input->n && !memcmp(&v, &want, 8),
              "%.60s: got %.17g, want %.17g", input->u.s, v, want);
        out[hyb_decimal_write(want, out)] = 0;
        CHECK(!strcmp(out, shortest->u.s), "%.17g: got %s, want %s", want, out, shortest->u.s);
    }
    hyb_json_free(&doc);
}

static void shape(void)
{
    static const char text[] = "{\"a\": [1, \"x\", {\"b\": null}], \"n\": -7, \"a\": [2.5], \"t\": true}";
    hyb_json_doc doc;
    hybrid_error err;
    const hyb_json *v;
    TEST("the tree");
    CHECK(!parse(text, strlen(text), &doc, &err), "%s", err.message);
    CHECK(doc.root->type == HYB_JSON_OBJECT, "%u members", (unsigned)doc.root->n);
    CHECK(doc.root->n == 4, "%u members", (unsigned)doc.root->n);
    CHECK(doc.root->skip == doc.count, "%u members", (unsigned)doc.root->n);
    v = hyb_json_get(doc.root, "a");
    CHECK(v && v->type == HYB_JSON_ARRAY, "of two members with one name the last counts");
    CHECK(v->n == 1, "of two members with one name the last counts");
    CHECK(hyb_json_first(v)->u.d == 2.5, "of two members with one name the last counts");
    v = hyb_json_get(doc.root, "n");
    CHECK(v && v->type == HYB_JSON_INT, "-7");
    CHECK(v->u.i == -7, "-7");
    CHECK(text[v->at] == '-', "-7");
    CHECK(!hyb_json_get(doc.root, "b"), "what is not there");
    CHECK(!hyb_json_get(v, "x"), "what is not there");
    CHECK(!hyb_json_get(NULL, "x"), "what is not there");
    v = hyb_json_first(doc.root);
    CHECK(v->n == 1, "members in order");
    CHECK(v->u.s[0] == 'a', "members in order");
    CHECK(v[1].n == 3, "members in order");
    CHECK(hyb_json_next_member(v)->u.s[0] == 'n', "members in order");
    hyb_json_free(&doc);
    hyb_json_free(&doc);
}

static void limits(void)
{
    hyb_json_doc doc;
    hybrid_error err;
    char *deep = (char *)malloc(200001);
    TEST("limits and errors");
    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    CHECK(hyb_json_parse(rt, deep, 200000, 1000, 1000000, &doc, &err) == HYBRID_ERROR_LIMIT && err.offset == 1000, "%s",
          err.message);
    CHECK(!hyb_json_parse(rt, deep, 200000, 100000, 1000000, &doc, &err), "%s: parsing does not recurse", err.message);
    hyb_json_free(&doc);
    CHECK(hyb_json_parse(rt, "[1,2,3]", 7, 10, 3, &doc, &err) == HYBRID_ERROR_LIMIT && !doc.root, "%s", err.message);
    CHECK(hyb_json_parse(rt, "[1,\n 2,\n  x]", 12, 10, 10, &doc, &err) == HYBRID_ERROR_FORMAT, "%s", err.message);
    CHECK(strstr(err.message, "line 3, column 3"), "%s", err.message);
    CHECK(err.offset == 10, "%s", err.message);
    CHECK(parse("\"\xC3\x28\"", 4, &doc, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "UTF-8"), "%s",
          err.message);
    CHECK(parse("\"\xED\xA0\x80\"", 5, &doc, &err) == HYBRID_ERROR_FORMAT, "a surrogate in UTF-8");
    CHECK(parse("\"\xC0\x80\"", 4, &doc, &err) == HYBRID_ERROR_FORMAT, "an overlong form");
    CHECK(parse("\"\xF4\x90\x80\x80\"", 6, &doc, &err) == HYBRID_ERROR_FORMAT, "above U+10FFFF");
    CHECK(parse("\"\xE2\x82\"", 4, &doc, &err) == HYBRID_ERROR_FORMAT, "a cut character");
    CHECK(parse("[1", 2, &doc, NULL) == HYBRID_ERROR_FORMAT, "no error struct");
    free(deep);
}

/* Every prefix of a valid text must fail, and touch nothing behind it (the copy is of exact size, for the
 * sanitizer). */
static void prefixes(void)
{
    static const char text[] =
        "{\"a\\u00e9\\ud83d\\ude00\": [1.5e+3, true, null, false, -12, \"\xE2\x82\xAC\"], \"b\": {}}";
    hyb_json_doc doc;
    size_t n;
    TEST("prefixes");
    for (n = 0; n + 1 < sizeof text; n++) {
        char *copy = (char *)malloc(n ? n : 1);
        memcpy(copy, text, n);
        CHECK(parse(copy, n, &doc, NULL), "%lu bytes are no JSON", (unsigned long)n);
        free(copy);
    }
}

static size_t countdown, live;
static void *failing_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    if (!countdown) return NULL;
    countdown--;
    live++;
    return malloc(size);
}
static void counting_free(void *user, void *block)
{
    HYB_UNUSED(user);
    live -= block != NULL;
    free(block);
}

static void memory(void)
{
    static const char text[] =
        "[[1,2,3,4,5,6,7,8,9,10],[1,2,3,4,5,6,7,8,9,10],[1,2,3,4,5,6,7,8,9,10],[1,2,3,4,5,6,7,8,9,10],[\"abc\"]]";
    hybrid_runtime_desc desc;
    hybrid_runtime *poor;
    hyb_json_doc doc;
    hybrid_error err;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    size_t n, before;
    TEST("out of memory");
    memset(&desc, 0, sizeof desc);
    desc.allocator.alloc = failing_alloc;
    desc.allocator.free = counting_free;
    countdown = SIZE_MAX;
    hybrid_runtime_create(&desc, &poor, NULL);
    before = live;
    for (n = 0; r == HYBRID_ERROR_MEMORY && n < 100; n++) {
        countdown = n;
        r = hyb_json_parse(poor, text, strlen(text), 10, 1000, &doc, &err);
        countdown = SIZE_MAX;
        CHECK(r ? live == before && !doc.root : n > 1, "allocation %lu", (unsigned long)n);
    }
    CHECK(!r, "%s", err.message);
    hyb_json_free(&doc);
    CHECK(live == before, "%lu blocks are left", (unsigned long)(live - before));
    hybrid_runtime_destroy(poor);
}

int main(void)
{
    if (hybrid_runtime_create(NULL, &rt, NULL)) return 1;
    oracle();
    shape();
    limits();
    prefixes();
    memory();
    /* a decimal comma must change nothing */
    if (setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8")) oracle();
    hybrid_runtime_destroy(rt);
    return test_end();
}
