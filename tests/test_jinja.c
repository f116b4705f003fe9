/* Chat templates against the vectors of shared/data/jinja (huggingface.js and llama.cpp) and of tests/oracle/data/jinja.json (jinja2
 * and transformers, made by tests/oracle/jinja.py), limits, errors, and memory that runs out at every allocation. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"

enum { FROZEN = 1752148800 };                                /* 2025-07-10T12:00:00Z */

static hybrid_runtime *rt;

static bool append(void *user, const void *data, size_t n)
{
    hybrid_text *t = (hybrid_text *)user;
    size_t size = t->size;
    char *grown = (char *)realloc(t->data, size + n + 1);
    if (!grown) return false;
    memcpy(grown + size, data, n);
    grown[size + n] = 0;
    t->data = grown;
    t->size = size + n;
    return true;
}

/* A part of a JSON document as JSON text again. Freed by free(). */
static char *json_text(const hybrid__json *v)
{
    hybrid_text t = { NULL, 0, 0, NULL };
    if (!v || !hybrid__json_write(v, append, &t)) return NULL;
    return t.data;
}
static const char *str(const hybrid__json *object, const char *key)
{
    const hybrid__json *v = hybrid__json_get(object, key);
    return v && v->type == HYBRID__JSON_STRING ? v->u.s : NULL;
}
static bool flag(const hybrid__json *object, const char *key)
{
    const hybrid__json *v = hybrid__json_get(object, key);
    return v && v->type == HYBRID__JSON_BOOL && v->u.b;
}

/* Renders text with a context; NULL: error. */
static hybrid_result render_with(const hybrid_template_desc *td, const char *context, hybrid_text *out, hybrid_error *err)
{
    hybrid_template *t;
    hybrid_render_desc rd;
    hybrid_result r;
    memset(&rd, 0, sizeof rd);
    rd.context = context;
    rd.now = FROZEN;
    if ((r = hybrid_template_create(rt, td, &t, err))) return r;
    r = hybrid_template_render(t, &rd, out, err);
    hybrid_template_destroy(t);
    return r;
}
static hybrid_template_desc desc_of(const hybrid__json *text, hybrid_template_dialect dialect, bool trim, bool lstrip)
{
    hybrid_template_desc d;
    memset(&d, 0, sizeof d);
    d.text = text->u.s;
    d.size = text->n;
    d.dialect = dialect;
    d.no_trim_blocks = !trim;
    d.no_lstrip_blocks = !lstrip;
    return d;
}

/* Where two texts part, for messages. */
static void difference(const char *got, const char *want, char out[300])
{
    size_t i = 0, from;
    while (got[i] && got[i] == want[i]) i++;
    from = i > 20 ? i - 20 : 0;
    snprintf(out, 300, "at %lu: got \"%.100s\", want \"%.100s\"", (unsigned long)i, got + from, want + from);
}

static void check_case(const char *name, const hybrid_template_desc *td, const char *context, const hybrid__json *want)
{
    hybrid_text out = { NULL, 0, 0, NULL };
    hybrid_error err;
    char text[300] = "";
    hybrid_result r = render_with(td, context, &out, &err);
    bool same = !r && out.size == want->n && !memcmp(out.data, want->u.s, want->n);
    if (!r && !same) difference(out.data, want->u.s, text);
    CHECK(same, "%s: %s", name, r ? err.message : text);
    hybrid_text_free(&out);
}

static bool load(const char *path, hybrid__json_doc *doc)
{
    hybrid_error err;
    size_t n;
    char *text = read_file(path, &n);
    hybrid_result r;
    if (!text) return false;
    r = hybrid__json_parse(rt, text, n, 100, 1000000, doc, &err);
    CHECK(!r, "%s: %s", path, err.message);
    free(text);
    return !r;
}
/* The cases of a file; NULL: absent. */
static const hybrid__json *cases(const char *path, hybrid__json_doc *doc)
{
    memset(doc, 0, sizeof *doc);
    if (!path || !load(path, doc)) { SKIP("no %s", path ? path : "shared/data/jinja (set HYBRID_DATA)"); return NULL; }
    return hybrid__json_get(doc->root, "cases");
}

static void vectors_snippets(void)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c;
    uint32_t i;
    TEST("hf-jinja-snippets");
    if (!(list = cases(data_path("jinja/hf-jinja-snippets.json"), &doc))) return;
    for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
        hybrid_template_desc td = desc_of(hybrid__json_get(c, "template"), HYBRID_TEMPLATE_JS, false, false);
        char *context = json_text(hybrid__json_get(c, "context"));
        check_case(str(c, "name"), &td, context, hybrid__json_get(c, "expected"));
        free(context);
    }
    CHECK(list->n == 157, "%u cases", (unsigned)list->n);
    hybrid__json_free(&doc);
}

static void vectors_whitespace(void)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c;
    char name[32];
    uint32_t i;
    TEST("hf-jinja-whitespace");
    if (!(list = cases(data_path("jinja/hf-jinja-whitespace.json"), &doc))) return;
    for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
        const hybrid__json *o = hybrid__json_get(c, "options");
        hybrid_template_desc td = desc_of(hybrid__json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, flag(o, "trim_blocks"), flag(o, "lstrip_blocks"));
        char *context = json_text(hybrid__json_get(c, "data"));
        snprintf(name, sizeof name, "case %u", (unsigned)i);
        check_case(name, &td, context, hybrid__json_get(c, "target"));
        free(context);
    }
    CHECK(list->n == 16, "%u cases", (unsigned)list->n);
    hybrid__json_free(&doc);
}

/* All in the dialect they were made with; and in Python's, but for the one template that prints a dict. */
static void vectors_e2e(void)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c;
    uint32_t i;
    int python;
    TEST("hf-chat-template-e2e");
    if (!(list = cases(data_path("jinja/hf-chat-template-e2e.json"), &doc))) return;
    for (python = 0; python < 2; python++)
        for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
            hybrid_template_desc td = desc_of(hybrid__json_get(c, "chat_template"), python ? HYBRID_TEMPLATE_PYTHON : HYBRID_TEMPLATE_JS, true, true);
            char *context = json_text(hybrid__json_get(c, "data"));
            if (!python || strcmp(str(c, "name"), "MadeAgents/Hammer2.1")) check_case(str(c, "name"), &td, context, hybrid__json_get(c, "target"));
            free(context);
        }
    CHECK(list->n == 53, "%u cases", (unsigned)list->n);
    hybrid__json_free(&doc);
}

/* llama.cpp's conversation: rendered as it is (what plain Jinja gives), and with merge_system, which is what llama.cpp's own engine
 * does with a system message that a template refuses or drops. It also drops a BOS at the front and an EOS at the end. */
static void vectors_llamacpp(void)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c;
    hybrid_chat_message messages[8];
    hybrid_chat_desc d;
    size_t n = 0;
    uint32_t i;
    TEST("llamacpp-chat-templates");
    if (!(list = cases(data_path("jinja/llamacpp-chat-templates.json"), &doc))) return;
    c = hybrid__json_get(doc.root, "messages");
    for (i = 0, c = hybrid__json_first(c); i < hybrid__json_get(doc.root, "messages")->n; i++, c = hybrid__json_next(c)) {
        messages[n].role = str(c, "role");
        messages[n++].content = str(c, "content");
    }
    for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
        hybrid_template_desc td = desc_of(hybrid__json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, true, true);
        const char *name = str(c, "name"), *want = str(c, "expected"), *plain = str(c, "plain_jinja_output"), *bos = str(c, "bos_token"), *eos = str(c, "eos_token"), *p;
        bool agrees = flag(c, "plain_jinja_agrees");
        hybrid_template *t;
        hybrid_text out = { NULL, 0, 0, NULL };
        hybrid_error err;
        hybrid_result r;
        memset(&d, 0, sizeof d);
        d.bos_token = bos;
        d.eos_token = eos;
        d.add_generation_prompt = flag(c, "add_generation_prompt");
        r = hybrid_template_create(rt, &td, &t, &err);
        CHECK(!r, "%s: %s", name, err.message);
        if (r) continue;
        r = hybrid_chat_render(t, messages, n, &d, &out, &err);
        if (!agrees && !plain) CHECK(r && (strstr(err.message, str(c, "plain_jinja_error")) || strstr(err.message, "additional_special_tokens")), "%s: %s", name, r ? err.message : out.data);
        else CHECK(!r && !strcmp(out.data, agrees ? want : plain), "%s: %s", name, r ? err.message : out.data);
        d.merge_system = true;
        if (!flag(c, "supported_with_jinja")) d.extra = "{\"additional_special_tokens\": [\"<|role_sep|>\", \"<|message_sep|>\", \"[\", \"]\"], \"bos_token\": \"<s>\"}";
        r = hybrid_chat_render(t, messages, n, &d, &out, &err);
        p = r ? "" : out.data;
        if (!r && !agrees && *eos && out.size > strlen(eos) && !strcmp(out.data + out.size - strlen(eos), eos)) out.data[out.size - strlen(eos)] = 0;
        if (!agrees && *bos && !strncmp(p, bos, strlen(bos)) && strncmp(want, bos, strlen(bos))) p += strlen(bos);
        CHECK(!r && (!strcmp(p, want) || !strcmp(p, str(c, "expected_builtin"))), "%s, merged: %s", name, r ? err.message : p);
        hybrid_text_free(&out);
        hybrid_template_destroy(t);
    }
    CHECK(list->n == 30, "%u cases", (unsigned)list->n);
    hybrid__json_free(&doc);
}

/* jinja2's word on small templates: the same text, or an error too (of syntax: in the same line). */
static void vectors_jinja2(const char *path)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c;
    char *context;
    uint32_t i;
    TEST("jinja2");
    if (!(list = cases(path, &doc))) return;
    context = json_text(hybrid__json_get(doc.root, "context"));
    for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
        hybrid_template_desc td = desc_of(hybrid__json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, true, true);
        const hybrid__json *line = hybrid__json_get(c, "line");
        hybrid_text out = { NULL, 0, 0, NULL };
        hybrid_error err;
        char place[40];
        hybrid_result r;
        if (hybrid__json_get(c, "expected")) { check_case(td.text, &td, context, hybrid__json_get(c, "expected")); continue; }
        r = render_with(&td, context, &out, &err);
        CHECK(r, "%s: an error is expected (%s), not '%s'", td.text, str(c, "error"), out.data);
        if (r && line) {
            snprintf(place, sizeof place, "template line %d,", (int)line->u.i);
            CHECK(!strncmp(err.message, place, strlen(place)), "%s: %s must be in line %d", td.text, err.message, (int)line->u.i);
        }
        hybrid_text_free(&out);
    }
    free(context);
    hybrid__json_free(&doc);
}

/* Whole conversations through hybrid_chat_render. */
static void vectors_chats(const char *path)
{
    hybrid__json_doc doc;
    const hybrid__json *list, *c, *v;
    char *tools, *extra;
    uint32_t i, k;
    TEST("chats of jinja2");
    if (!cases(path, &doc)) return;
    list = hybrid__json_get(doc.root, "chats");
    tools = json_text(hybrid__json_get(doc.root, "tools"));
    extra = json_text(hybrid__json_get(doc.root, "extra"));
    for (i = 0, c = hybrid__json_first(list); i < list->n; i++, c = hybrid__json_next(c)) {
        const hybrid__json *context = hybrid__json_get(c, "context"), *want = hybrid__json_get(c, "expected");
        hybrid_template_desc td = desc_of(hybrid__json_get(hybrid__json_get(doc.root, "templates"), str(c, "template")), HYBRID_TEMPLATE_PYTHON, true, true);
        hybrid_chat_desc d;
        hybrid_template *t;
        hybrid_text out = { NULL, 0, 0, NULL };
        hybrid_error err;
        char *messages, text[300] = "";
        hybrid_result r;
        v = hybrid__json_first(hybrid__json_get(doc.root, "conversations"));
        for (k = 0; k < (uint32_t)hybrid__json_get(context, "conversation")->u.i; k++) v = hybrid__json_next(v);
        messages = json_text(v);
        memset(&d, 0, sizeof d);
        d.add_generation_prompt = flag(context, "add_generation_prompt");
        d.bos_token = "<s>";
        d.eos_token = "</s>";
        d.messages = messages;
        d.now = FROZEN;
        if (flag(context, "tools")) { d.tools = tools; d.extra = extra; }
        r = hybrid_template_create(rt, &td, &t, &err);
        CHECK(!r, "%s: %s", str(c, "template"), err.message);
        if (!r) {
            r = hybrid_chat_render(t, NULL, 0, &d, &out, &err);
            if (!r && want) difference(out.data, want->u.s, text);
            CHECK(want ? !r && out.size == want->n && !strcmp(out.data, want->u.s) : r != 0, "%s %u: %s", str(c, "template"), (unsigned)i, r ? err.message : text);
        }
        hybrid_text_free(&out);
        hybrid_template_destroy(t);
        free(messages);
    }
    free(tools);
    free(extra);
    hybrid__json_free(&doc);
}

int main(void)
{
    hybrid_error err;
    if (hybrid_runtime_create(NULL, &rt, &err)) { printf("%s\n", err.message); return 1; }
    vectors_snippets();
    vectors_whitespace();
    vectors_e2e();
    vectors_llamacpp();
    vectors_jinja2("tests/oracle/data/jinja.json");
    vectors_chats("tests/oracle/data/jinja.json");
    hybrid_runtime_destroy(rt);
    return test_end();
}
