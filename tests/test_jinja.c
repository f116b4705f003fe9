/* [tsan] Chat templates against the vectors of shared/data/jinja (huggingface.js and llama.cpp) and of
 * tests/oracle/data/jinja.json (jinja2 and transformers, made by tests/oracle/make_jinja.py), limits, errors, and
 * memory that runs out at every allocation. */
#include "private.h"

enum { FROZEN = 1752148800 }; /* 2025-07-10T12:00:00Z */

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
static char *json_text(const hyb_json *v)
{
    hybrid_text t = { NULL, 0, 0, NULL, NULL, 0, 0 };
    if (!v || !hyb_json_write(v, append, &t)) return NULL;
    return t.data;
}
static const char *str(const hyb_json *object, const char *key)
{
    const hyb_json *v = hyb_json_get(object, key);
    return v && v->type == HYB_JSON_STRING ? v->u.s : NULL;
}
static bool flag(const hyb_json *object, const char *key)
{
    const hyb_json *v = hyb_json_get(object, key);
    return v && v->type == HYB_JSON_BOOL && v->u.b;
}

/* Renders text with a context; NULL: error. */
static hybrid_result render_with(const hybrid_template_desc *td, const char *context, hybrid_text *out,
                                 hybrid_error *err)
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
static hybrid_template_desc desc_of(const hyb_json *text, hybrid_template_dialect dialect, bool trim, bool lstrip)
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

static void check_case(const char *name, const hybrid_template_desc *td, const char *context, const hyb_json *want)
{
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    char text[300] = "";
    hybrid_result r = render_with(td, context, &out, &err);
    bool same = !r && out.size == want->n && !memcmp(out.data, want->u.s, want->n);
    if (!r && !same) difference(out.data, want->u.s, text);
    CHECK(same, "%s: %s", name, r ? err.message : text);
    hybrid_text_free(&out);
}

static bool load(const char *path, hyb_json_doc *doc)
{
    hybrid_error err;
    size_t n;
    char *text = read_file(path, &n);
    hybrid_result r;
    if (!text) return false;
    r = hyb_json_parse(rt, text, n, 100, 1000000, doc, &err);
    CHECK(!r, "%s: %s", path, err.message);
    free(text);
    return !r;
}
/* The cases of a file; NULL: absent. */
static const hyb_json *cases(const char *path, hyb_json_doc *doc)
{
    memset(doc, 0, sizeof *doc);
    if (!path || !load(path, doc)) {
        SKIP("no %s", path ? path : "shared/data/jinja (set HYBRID_DATA)");
        return NULL;
    }
    return hyb_json_get(doc->root, "cases");
}

static void vectors_snippets(void)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    uint32_t i;
    TEST("hf-jinja-snippets");
    if (!(list = cases(data_path("jinja/hf-jinja-snippets.json"), &doc))) return;
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        hybrid_template_desc td = desc_of(hyb_json_get(c, "template"), HYBRID_TEMPLATE_JS, false, false);
        char *context = json_text(hyb_json_get(c, "context"));
        check_case(str(c, "name"), &td, context, hyb_json_get(c, "expected"));
        free(context);
    }
    CHECK(list->n == 157, "%u cases", (unsigned)list->n);
    hyb_json_free(&doc);
}

static void vectors_whitespace(void)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    char name[32];
    uint32_t i;
    TEST("hf-jinja-whitespace");
    if (!(list = cases(data_path("jinja/hf-jinja-whitespace.json"), &doc))) return;
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        const hyb_json *o = hyb_json_get(c, "options");
        hybrid_template_desc td = desc_of(hyb_json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, flag(o, "trim_blocks"),
                                          flag(o, "lstrip_blocks"));
        char *context = json_text(hyb_json_get(c, "data"));
        snprintf(name, sizeof name, "case %u", (unsigned)i);
        check_case(name, &td, context, hyb_json_get(c, "target"));
        free(context);
    }
    CHECK(list->n == 16, "%u cases", (unsigned)list->n);
    hyb_json_free(&doc);
}

/* All in the dialect they were made with; and in Python's, but for the one template that prints a dict. */
static void vectors_e2e(void)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    uint32_t i;
    int python;
    TEST("hf-chat-template-e2e");
    if (!(list = cases(data_path("jinja/hf-chat-template-e2e.json"), &doc))) return;
    for (python = 0; python < 2; python++)
        for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
            hybrid_template_desc td = desc_of(hyb_json_get(c, "chat_template"),
                                              python ? HYBRID_TEMPLATE_PYTHON : HYBRID_TEMPLATE_JS, true, true);
            char *context = json_text(hyb_json_get(c, "data"));
            if (!python || strcmp(str(c, "name"), "MadeAgents/Hammer2.1"))
                check_case(str(c, "name"), &td, context, hyb_json_get(c, "target"));
            free(context);
        }
    CHECK(list->n == 53, "%u cases", (unsigned)list->n);
    hyb_json_free(&doc);
}

/* llama.cpp's conversation: rendered as it is (what plain Jinja gives), and with merge_system, which is what
 * llama.cpp's own engine does with a system message that a template refuses or drops. It also drops a BOS at the
 * front and an EOS at the end. */
static void vectors_llamacpp(void)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    hybrid_chat_message messages[8];
    hybrid_chat_desc d;
    size_t n = 0;
    uint32_t i;
    TEST("llamacpp-chat-templates");
    if (!(list = cases(data_path("jinja/llamacpp-chat-templates.json"), &doc))) return;
    c = hyb_json_get(doc.root, "messages");
    for (i = 0, c = hyb_json_first(c); i < hyb_json_get(doc.root, "messages")->n; i++, c = hyb_json_next(c)) {
        messages[n].role = str(c, "role");
        messages[n++].content = str(c, "content");
    }
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        hybrid_template_desc td = desc_of(hyb_json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, true, true);
        const char *name = str(c, "name"), *want = str(c, "expected"), *plain = str(c, "plain_jinja_output"),
                   *bos = str(c, "bos_token"), *eos = str(c, "eos_token"), *p;
        bool agrees = flag(c, "plain_jinja_agrees");
        hybrid_template *t;
        hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
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
        if (!agrees && !plain)
            CHECK(r && (strstr(err.message, str(c, "plain_jinja_error")) ||
                        strstr(err.message, "additional_special_tokens")),
                  "%s: %s", name, r ? err.message : out.data);
        else
            CHECK(!r && !strcmp(out.data, agrees ? want : plain), "%s: %s", name, r ? err.message : out.data);
        d.merge_system = true;
        if (!flag(c, "supported_with_jinja"))
            d.extra = "{\"additional_special_tokens\": [\"<|role_sep|>\", \"<|message_sep|>\", \"[\", \"]\"], "
                      "\"bos_token\": \"<s>\"}";
        r = hybrid_chat_render(t, messages, n, &d, &out, &err);
        p = r ? "" : out.data;
        if (!r && !agrees && *eos && out.size > strlen(eos) && !strcmp(out.data + out.size - strlen(eos), eos))
            out.data[out.size - strlen(eos)] = 0;
        if (!agrees && *bos && !strncmp(p, bos, strlen(bos)) && strncmp(want, bos, strlen(bos))) p += strlen(bos);
        CHECK(!r && (!strcmp(p, want) || !strcmp(p, str(c, "expected_builtin"))), "%s, merged: %s", name,
              r ? err.message : p);
        hybrid_text_free(&out);
        hybrid_template_destroy(t);
    }
    CHECK(list->n == 30, "%u cases", (unsigned)list->n);
    hyb_json_free(&doc);
}

/* jinja2's word on small templates: the same text, or an error too (of syntax: in the same line). */
static void vectors_jinja2(const char *path)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    char *context;
    uint32_t i;
    TEST("jinja2");
    if (!(list = cases(path, &doc))) return;
    context = json_text(hyb_json_get(doc.root, "context"));
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        hybrid_template_desc td = desc_of(hyb_json_get(c, "template"), HYBRID_TEMPLATE_PYTHON, true, true);
        const hyb_json *line = hyb_json_get(c, "line");
        hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
        hybrid_error err;
        char place[40];
        hybrid_result r;
        if (hyb_json_get(c, "expected")) {
            check_case(td.text, &td, context, hyb_json_get(c, "expected"));
            continue;
        }
        r = render_with(&td, context, &out, &err);
        CHECK(r, "%s: an error is expected (%s), not '%s'", td.text, str(c, "error"), out.data);
        if (r && line) {
            snprintf(place, sizeof place, "template line %d,", (int)line->u.i);
            CHECK(!strncmp(err.message, place, strlen(place)), "%s: %s must be in line %d", td.text, err.message,
                  (int)line->u.i);
        }
        hybrid_text_free(&out);
    }
    free(context);
    hyb_json_free(&doc);
}

/* Whole conversations through hybrid_chat_render. */
static void vectors_chats(const char *path)
{
    hyb_json_doc doc;
    const hyb_json *list, *c, *v;
    char *tools, *extra;
    uint32_t i, k;
    TEST("chats of jinja2");
    if (!cases(path, &doc)) return;
    list = hyb_json_get(doc.root, "chats");
    tools = json_text(hyb_json_get(doc.root, "tools"));
    extra = json_text(hyb_json_get(doc.root, "extra"));
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        const hyb_json *context = hyb_json_get(c, "context"), *want = hyb_json_get(c, "expected");
        hybrid_template_desc td = desc_of(hyb_json_get(hyb_json_get(doc.root, "templates"), str(c, "template")),
                                          HYBRID_TEMPLATE_PYTHON, true, true);
        hybrid_chat_desc d;
        hybrid_template *t;
        hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
        hybrid_error err;
        char *messages, text[300] = "";
        hybrid_result r;
        v = hyb_json_first(hyb_json_get(doc.root, "conversations"));
        for (k = 0; k < (uint32_t)hyb_json_get(context, "conversation")->u.i; k++) v = hyb_json_next(v);
        messages = json_text(v);
        memset(&d, 0, sizeof d);
        d.add_generation_prompt = flag(context, "add_generation_prompt");
        d.bos_token = "<s>";
        d.eos_token = "</s>";
        d.messages = messages;
        d.now = FROZEN;
        if (flag(context, "tools")) {
            d.tools = tools;
            d.extra = extra;
        }
        r = hybrid_template_create(rt, &td, &t, &err);
        CHECK(!r, "%s: %s", str(c, "template"), err.message);
        if (!r) {
            r = hybrid_chat_render(t, NULL, 0, &d, &out, &err);
            if (!r && want) difference(out.data, want->u.s, text);
            CHECK(want ? !r && out.size == want->n && !strcmp(out.data, want->u.s) : r != 0, "%s %u: %s",
                  str(c, "template"), (unsigned)i, r ? err.message : text);
        }
        hybrid_text_free(&out);
        hybrid_template_destroy(t);
        free(messages);
    }
    free(tools);
    free(extra);
    hyb_json_free(&doc);
}

/* ---- limits and errors ------------------------------------------------------------------------------------------- */

static hybrid_result quick_with(const char *text, const char *context, const hybrid_template_limits *limits,
                                hybrid_text *out, hybrid_error *err)
{
    hybrid_template_desc td;
    hybrid_render_desc rd;
    hybrid_template *t;
    hybrid_result r;
    memset(&td, 0, sizeof td);
    memset(&rd, 0, sizeof rd);
    memset(err, 0, sizeof *err);
    td.text = text;
    rd.context = context;
    rd.now = FROZEN;
    if (limits) rd.limits = *limits;
    if ((r = hybrid_template_create(rt, &td, &t, err))) return r;
    r = hybrid_template_render(t, &rd, out, err);
    hybrid_template_destroy(t);
    return r;
}
static hybrid_result quick_within(const char *text, bool defaults, hybrid_error *err)
{
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_template_limits l;
    hybrid_result r;
    memset(&l, 0, sizeof l);
    /* the defaults take seconds for each of them; minutes with a sanitizer */
    l.max_steps = getenv("HYBRID_SANITIZER") ? 1000000 : 10000000;
    l.max_memory = 16 << 20;
    r = quick_with(text, NULL, defaults ? NULL : &l, &out, err);
    hybrid_text_free(&out);
    return r;
}
static hybrid_result quick(const char *text, hybrid_error *err) { return quick_within(text, false, err); }

/* before, then `times` times `again`, then after. Freed by free(). */
static char *repeat(const char *before, const char *again, size_t times, const char *after)
{
    size_t a = strlen(before), b = strlen(again), c = strlen(after), i;
    char *p = (char *)malloc(a + b * times + c + 1);
    memcpy(p, before, a);
    for (i = 0; i < times; i++) memcpy(p + a + i * b, again, b);
    memcpy(p + a + times * b, after, c + 1);
    return p;
}

static void bombs(void)
{
    static const char *const limited[] = {
        "{{ 'x' * 1000000000000 }}",
        "{{ 'x' * 9223372036854775807 }}",
        "{{ [1] * 9223372036854775807 }}",
        "{{ ('x' * 100000) * 100000 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s|replace('x', 'xx') %}{% "
        "endfor %}",
        "{{ range(100001) }}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}",
        "{{ range(0, 9223372036854775807, 9223372036854775807)|length }}{{ range(9223372036854775807, "
        "-9223372036854775807, -1) }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{{ range(100000)|sum }}{% endfor %}",
        "{% for a in range(100000) %}{{ range(100000)|list|length }}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% for a in range(100000) %}{{ s.strip('b')|length }}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% for a in range(100000) %}{{ 'ab' in s }}{{ s == s ~ '' }}{% endfor %}",
        "{% set s = ' ' * 10000000 %}{% for a in range(100000) %}{% if s.strip() or s.isalpha() or s|int or "
        "s|wordcount %}{% endif %}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{{ s.rfind('b' ~ s[:500000]) }}{{ s.rpartition('b' ~ s[:500000]) }}{{ s.rsplit('b' "
        "~ s[:500000]) }}",
        "{% set s = '\xC3\xA4' * 1000000 %}{% for i in range(100000) %}{{ s[i * 9] }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro "
        "%}{{ g() }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
        "{% set n = namespace() %}{% set n.x = [n] %}{{ n }}",
        "{% set n = namespace() %}{% set n.x = {'a': n} %}{{ n.x }}",
        "{% set n = namespace() %}{% set n.f = [] %}{% for i in range(100000) %}{% set n.f = [n.f] %}{% endfor %}{{ "
        "n.f }}",
        "{% set n = namespace() %}{% set n.f = [] %}{% for i in range(100000) %}{% set n.f = [n.f] %}{% endfor %}{{ "
        "n.f|tojson }}",
        "{% set n = namespace(a=[], b=[]) %}{% for i in range(100000) %}{% set n.a = [n.a] %}{% set n.b = [n.b] %}{% "
        "endfor %}{{ n.a == n.b }}",
        "{% set n = namespace(a=[1], b=[2]) %}{% for i in range(100000) %}{% set n.a = [n.a] %}{% set n.b = [n.b] %}{% "
        "endfor %}{{ n.a < n.b }}",
        "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|tojson }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ 9223372036854775807 * 2 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ -(-9223372036854775807 - 1) }}",
        "{{ (-9223372036854775807 - 1)|abs }}",
        "{{ 2 ** 63 }}",
        "{{ 10 ** 1000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x'|indent(1000000000000) ~ 'a\n'|indent(1000000000000) }}",
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x'|center(1000000000000) }}",
        "{{ [1]|slice(1000000000)|list }}",
        "{{ [1]|batch(2000000000, 0)|list }}",
        "{{ [1]|tojson(indent=100000000000) }}",
        "{{ '123456789' * 100000|int }}{{ ('1' * 10000000)|int }}{% for i in range(100000) %}{{ 'x' * 10000 }}{% "
        "endfor %}",
        "{% set l = range(1000)|list %}{% for i in range(100000) %}{% if l|sort|first %}{% endif %}{% endfor %}"
    };
    static const char *const whole[] = {
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'x'|center(1000000000000) }}"
    };
    static const struct {
        const char *before, *again, *after;
    } deep[] = { { "{{ ", "(", "1" },
                 { "{{ ", "[", "1" },
                 { "{{ ", "{1:", "1" },
                 { "", "{% if 1 %}", "" },
                 { "", "{% for x in y %}", "" },
                 { "", "{% macro x() %}", "" },
                 { "{{ x", "[x", "" },
                 { "{{ x", "(x", "" },
                 { "{% for x, ", "(x, ", "" },
                 { "{% set ", "(", "" },
                 { "{{ 1", "**(1", "" },
                 { "", "{% set x %}", "" } };
    /* long, not deep for the parser; what is deep in the tree is a limit at most */
    static const struct {
        const char *before, *again, *after;
    } wide[] = { { "{{ ", "not ", "1 }}" },
                 { "{{ ", "- ", "1 }}" },
                 { "{{ 1", " if 0 else 1", " }}" },
                 { "{{ 1", " if 0", " }}" },
                 { "{{ 1", " or 0", " }}" },
                 { "{{ 1", " + 1", " }}" },
                 { "{{ x", ".a", " }}" },
                 { "{{ x", "|upper", " }}" },
                 { "{{ x", "[0]", " }}" },
                 { "{{ x", "()", " }}" },
                 { "{{ 1", " ~ 1", " }}" },
                 { "{{ 1", " and 1", " }}" },
                 { "{% if 0 %}", "{% elif 0 %}", "{% endif %}" },
                 { "{{ 1", " < 1", " }}" },
                 { "", "{{ 1 }}", "" },
                 { "{{ [", "1,", "] }}" },
                 { "{{ {", "1:1,", "} }}" },
                 { "{{ dict(", "a=1,", ") }}" },
                 { "", "{% set x = 1 %}", "" },
                 { "{{ 1", " is defined", " }}" },
                 { "{{ 'a'", " 'b'", "}}" },
                 { "", "{#", "" },
                 { "", "{%", "" },
                 { "", "{{", "" },
                 { "{% raw %}", "{% endra", "" },
                 { "", "{%raw", "" } };
    hybrid_error err;
    hybrid_result r;
    size_t i;
    char *text;
    TEST("bombs");
    for (i = 0; i < HYB_COUNT(limited); i++) {
        r = quick(limited[i], &err);
        CHECK(r == HYBRID_ERROR_LIMIT, "%s: %d %s", limited[i], (int)r, err.message);
    }
    for (i = 0; i < HYB_COUNT(whole) && !getenv("HYBRID_SANITIZER"); i++) {
        r = quick_within(whole[i], true, &err);
        CHECK(r == HYBRID_ERROR_LIMIT, "with the default limits, %s: %d %s", whole[i], (int)r, err.message);
    }
    for (i = 0; i < HYB_COUNT(deep); i++) {
        text = repeat(deep[i].before, deep[i].again, 100000, deep[i].after);
        r = quick(text, &err);
        CHECK(r == HYBRID_ERROR_LIMIT, "%s%s...: %d %s", deep[i].before, deep[i].again, (int)r, err.message);
        free(text);
    }
    for (i = 0; i < HYB_COUNT(wide); i++) {
        text = repeat(wide[i].before, wide[i].again, 100000, wide[i].after);
        r = quick(text, &err);
        CHECK(!r || r == HYBRID_ERROR_LIMIT || r == HYBRID_ERROR_FORMAT, "%s%s...: %d %s", wide[i].before,
              wide[i].again, (int)r, err.message);
        free(text);
    }
}

/* ---- the stack --------------------------------------------------------------------------------------------------- */

#if !defined(_WIN32) && !defined(__wasm__) && !defined(HYBRID_NO_THREADS)
enum { STACK = 1 << 20, STACK_MOST = 64 * 1024 };

/* Bytes of a thread's own stack that a function has touched below its caller: they are painted before. */
typedef struct painted {
    void (*run)(void *arg);
    void *arg;
    unsigned char *stack;
    size_t used;
} painted;
static void *painted_run(void *arg)
{
    painted *p = (painted *)arg;
    unsigned char *here = (unsigned char *)__builtin_frame_address(0), *at = p->stack;
    p->run(p->arg);
    while (at < here && *at == 0xA5) at++;
    p->used = (size_t)(here - at);
    return NULL;
}
static size_t stack_of(void (*run)(void *arg), void *arg)
{
    pthread_attr_t attributes;
    pthread_t thread;
    painted p;
    char *block = (char *)malloc(STACK + 65536);
    p.run = run;
    p.arg = arg;
    p.used = SIZE_MAX;
    if (!block) return SIZE_MAX;
    p.stack = (unsigned char *)block + (65536 - (uintptr_t)block % 65536);
    memset(p.stack, 0xA5, STACK);
    pthread_attr_init(&attributes);
    if (!pthread_attr_setstack(&attributes, p.stack, STACK) && !pthread_create(&thread, &attributes, painted_run, &p))
        pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    free(block);
    return p.used;
}

typedef struct rendering {
    const hybrid_template_desc *td;
    const char *context;
    hybrid_result result;
    hybrid_error err;
} rendering;
static void render_on_stack(void *arg)
{
    rendering *r = (rendering *)arg;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_template *t;
    hybrid_render_desc rd;
    memset(&rd, 0, sizeof rd);
    rd.context = r->context;
    rd.now = FROZEN;
    rd.limits.max_depth = 10000; /* the stack is the limit, not the count */
    r->result = hybrid_template_create(rt, r->td, &t, &r->err);
    if (!r->result) {
        r->result = hybrid_template_render(t, &rd, &out, &r->err);
        hybrid_template_destroy(t);
    }
    hybrid_text_free(&out);
}

/* Whatever is nested in whatever way: 64 KB at most, and an error at worst. */
static void stack_deep(void)
{
    /* clang-format off */
    static const struct { const char *before, *again, *after; } deep[] = {
        { "{{ ", "(", "1" }, { "{{ ", "[", "" }, { "{{ ", "{1:", "1" }, { "{{ x", "[x", "" }, { "{{ x", "(x", "" },
        { "{{ 1", "**(1", "" },
        { "{{ 1", " or 1 and not 1 < 1 + 1 ~ 1 * 1 ** (2", "" }, { "{{ ", "not (-", "1" }, { "{{ 1", "|f(a|f(b", "" },
        { "{{ 1", " is f(", "" },
        { "{{ x", "[1:(", "" }, { "{{ ", "f(a=[{1: (", "" }, { "{{ 1", " if (1", "" }, { "{{ 1", " if 1 else (1", "" },
        { "", "{% if 1 %}", "" }, { "", "{% for x in y %}", "" }, { "", "{% macro x() %}", "" },
        { "", "{% set x %}", "" },
        { "", "{% call x() %}{% filter f %}", "" }, { "", "{% with a = 1 %}{% if 0 %}{% elif 0 %}{% else %}", "" },
        { "{% for x, ", "(x, ", "" },
        { "{% set ", "(", "" }, { "{{ ", "not ", "1 }}" }, { "{{ ", "- ", "1 }}" }, { "{{ 1", " if 0 else 1", " }}" },
        { "{{ 1", " if 0", " }}" },
        { "{{ 1", "|abs", " }}" }, { "{{ 1", "+1", " }}" }, { "{{ x", ".a", " }}" }, { "{{ x", "()", " }}" },
        { "{{ x", "[0]", " }}" },
        { "{{ 1", " ~ 1", " }}" }, { "{{ 1", " and 1", " }}" }, { "{{ 1", " == 1", " }}" },
        { "{% if 0 %}", "{% elif 0 %}", "{% endif %}" },
        { "{{ 1", " is odd", " }}" }, { "{{ x", "|map('f'", "" }, { "{{ [1]", "|map('string')", "|list }}" }
    };
    /* clang-format on */
    static const char *const recursive[] = {
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{% for i in [1] %}{% if true %}{% with a=1 %}{% set z %}{{ (f(x) ~ '')|upper|trim }}{% endset "
        "%}{{ z }}{% endwith %}"
        "{% endif %}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% macro g() %}{{ caller() }}{% endmacro %}{% macro f(x) %}{% call g() %}{{ f(x)|default('x') }}{% endcall "
        "%}{% endmacro %}{{ f(1) }}",
        "{% macro f(x) %}{{ [x]|map('default', f(x))|list }}{{ {'a': [f(x) if f(x) else -f(x)[f(x):f(x)]]} }}{% "
        "endmacro %}{{ f(1) }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for x in n.l recursive %}{% if x is iterable %}{{ loop(x) }}{% endif %}{% endfor %}",
        "{% set n = namespace() %}{% set n.x = [n] %}{{ n }}",
        "{% set n = namespace() %}{% set n.x = {'a': n} %}{{ n.x|pprint }}",
        "{{ n.l }}",
        "{{ n.d }}",
        "{{ n.l|tojson }}",
        "{{ n.d|tojson(indent=1) }}",
        "{{ n.t|string }}",
        "{{ n.l|pprint }}",
        "{{ n.l == n.m }}",
        "{{ n.l < n.m }}",
        "{{ n.l in [n.m] }}",
        "{{ [n.l, n.m]|sort }}",
        "{{ [n.l, n.m]|max }}",
        "{{ n.d == n.e }}",
        "{{ n.l is eq(n.m) }}",
        "{{ [n.l, n.m].index(n.m) }}",
        "{{ '%s' % [n.t] }}",
        "{{ '{}'.format(n.l) }}",
        "{{ '{0!r:>5}'.format(n.d) }}",
        "{{ [n.l, n.m]|groupby(0)|string }}",
        "{{ [n.l]|join(n.l) }}",
        "{{ n.l ~ n.l }}",
        "{{ [n.d, n.e]|map('tojson')|list }}",
        "{{ {n.t: 1} }}",
        "{{ [n.l, n.m]|unique|list }}",
        "{{ n.g|list }}",
        "{{ n.g|first }}",
        "{{ n.g|map('upper')|join }}",
        "{% for x in n.g recursive %}{{ loop(x) }}{% endfor %}"
    };
    static const char make[] = "{% set n = namespace(l=[1], m=[2], d={}, e={}, t=(1,), g=[[1]]) %}{% for i in "
                               "range(3000) %}{% set n.l = [n.l] %}{% set n.m = [n.m] %}"
                               "{% set n.d = {'a': n.d} %}{% set n.e = {'a': n.e} %}{% set n.t = (n.t,) %}{% set n.g = "
                               "n.g|map('default') %}{% endfor %}";
    enum { SURE = 30 }; /* the first ones: errors all of them */
    hybrid_template_desc td;
    rendering r;
    size_t i, used, most = 0;
    char *text, *json;
    TEST("stack: whatever is nested");
    if (getenv("HYBRID_SANITIZER")) return; /* sanitizers make frames of their own */
    memset(&td, 0, sizeof td);
    r.td = &td;
    r.context = NULL;
    for (i = 0; i < HYB_COUNT(deep); i++) {
        td.text = text = repeat(deep[i].before, deep[i].again, 20000, deep[i].after);
        used = stack_of(render_on_stack, &r);
        CHECK(used <= STACK_MOST, "%s%s...: %lu bytes of stack", deep[i].before, deep[i].again, (unsigned long)used);
        most = HYB_MAX(most, used);
        free(text);
    }
    for (i = 0; i < HYB_COUNT(recursive); i++) {
        td.text = text = repeat(make, recursive[i], 1, "");
        used = stack_of(render_on_stack, &r);
        CHECK(used <= STACK_MOST, "%s: %lu bytes of stack", recursive[i], (unsigned long)used);
        CHECK(i >= SURE || r.result == HYBRID_ERROR_LIMIT, "%s: %d %s", recursive[i], (int)r.result, r.err.message);
        most = HYB_MAX(most, used);
        free(text);
    }
    td.text = "{{ x == y }}{{ x }}{{ x|tojson }}";
    text = repeat("{\"x\": ", "[", 120, "");
    r.context = json = repeat(text, "]", 120, "}");
    used = stack_of(render_on_stack, &r);
    CHECK(used <= STACK_MOST && !r.result, "JSON: %lu bytes of stack, %s", (unsigned long)used,
          r.result ? r.err.message : "");
    free(text);
    free(json);
    printf("  at most %lu bytes of stack\n", (unsigned long)most);
}

/* What models carry needs less than that, however the compiler was told to build. */
static void stack_real(void)
{
    hyb_json_doc doc;
    const hyb_json *list, *c;
    size_t used, most = 0;
    uint32_t i;
    rendering r;
    TEST("stack: real templates");
    if (getenv("HYBRID_SANITIZER")) return; /* sanitizers make frames of their own */
    if (!(list = cases(data_path("jinja/hf-chat-template-e2e.json"), &doc))) return;
    for (i = 0, c = hyb_json_first(list); i < list->n; i++, c = hyb_json_next(c)) {
        hybrid_template_desc td = desc_of(hyb_json_get(c, "chat_template"), HYBRID_TEMPLATE_PYTHON, true, true);
        char *context = json_text(hyb_json_get(c, "data"));
        r.td = &td;
        r.context = context;
        used = stack_of(render_on_stack, &r);
        CHECK(!r.result && used <= STACK_MOST / 2, "%s: %lu bytes of stack, %s", str(c, "name"), (unsigned long)used,
              r.result ? r.err.message : "");
        most = HYB_MAX(most, used);
        free(context);
    }
    printf("  at most %lu bytes of stack\n", (unsigned long)most);
    hyb_json_free(&doc);
}
#else
static void stack_deep(void) {}
static void stack_real(void) {}
#endif

static void limits(void)
{
    hybrid_template_limits l;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    TEST("limits");
    memset(&l, 0, sizeof l);
    l.max_output = 10;
    CHECK(!quick_with("{{ 'x' * 10 }}", NULL, &l, &out, &err) && out.size == 10, "%s", err.message);
    CHECK(quick_with("{{ 'x' * 11 }}", NULL, &l, &out, &err) == HYBRID_ERROR_LIMIT, "%s", err.message);
    CHECK(strstr(err.message, "max_output"), "%s", err.message);
    CHECK(out.size == 0, "%s", err.message);
    memset(&l, 0, sizeof l);
    l.max_steps = 1000;
    CHECK(!quick_with("{% for i in range(50) %}{{ i }}{% endfor %}", NULL, &l, &out, &err), "%s", err.message);
    CHECK(quick_with("{% for i in range(1000) %}{{ i }}{% endfor %}", NULL, &l, &out, &err) == HYBRID_ERROR_LIMIT &&
              strstr(err.message, "max_steps"),
          "%s", err.message);
    memset(&l, 0, sizeof l);
    l.max_memory = 20000;
    CHECK(!quick_with("{{ 'x' * 1000 }}", NULL, &l, &out, &err), "%s", err.message);
    CHECK(quick_with("{{ 'x' * 20000 }}", NULL, &l, &out, &err) == HYBRID_ERROR_LIMIT &&
              strstr(err.message, "max_memory"),
          "%s", err.message);
    memset(&l, 0, sizeof l);
    l.max_depth = 20;
    CHECK(!quick_with("{{ [[[[[1]]]]] }}", NULL, &l, &out, &err), "%s", err.message);
    CHECK(quick_with("{{ [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]] }}", NULL, &l, &out, &err) ==
                  HYBRID_ERROR_LIMIT &&
              strstr(err.message, "max_depth"),
          "%s", err.message);
    CHECK(quick_with("x", "{\"a\": [1,", NULL, &out, &err) == HYBRID_ERROR_FORMAT &&
              strstr(err.message, "context: JSON, line 1, column 10"),
          "%s", err.message);
    CHECK(quick_with("x", "[1]", NULL, &out, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "object"), "%s",
          err.message);
    CHECK(quick("{{ raise_exception('No \xC3\xA4 allowed') }}", &err) == HYBRID_ERROR_INVALID &&
              strstr(err.message, "No \xC3\xA4 allowed"),
          "%s", err.message);
    CHECK(quick("a\nb {{ x.y }}", &err) == HYBRID_ERROR_FORMAT, "%s (%d)", err.message, (int)err.offset);
    CHECK(strstr(err.message, "template line 2, column 8: 'x' is undefined"), "%s (%d)", err.message, (int)err.offset);
    CHECK(err.offset == 9, "%s (%d)", err.message, (int)err.offset);
    CHECK(quick("{{ 1|nope }}", &err) == HYBRID_ERROR_UNSUPPORTED && strstr(err.message, "nope"), "%s", err.message);
    CHECK(quick("{% include 'x' %}", &err) == HYBRID_ERROR_UNSUPPORTED, "%s", err.message);
    CHECK(quick("\n\n  {% fi %}", &err) == HYBRID_ERROR_FORMAT, "%s", err.message);
    CHECK(strstr(err.message, "line 3, column 6"), "%s", err.message);
    CHECK(strstr(err.message, "'fi'"), "%s", err.message);
    CHECK(hybrid_template_render(NULL, NULL, &out, NULL) == HYBRID_ERROR_INVALID &&
              hybrid_chat_render(NULL, NULL, 0, NULL, &out, NULL) == HYBRID_ERROR_INVALID,
          "NULL");
    hybrid_template_destroy(NULL);
    hybrid_text_free(NULL);
    hybrid_text_free(&out);
}

/* Bytes that are not UTF-8, in the template and in what it is given, come out as they went in, or as U+FFFD where
 * JSON wants UTF-8. */
static void bytes(void)
{
    static const char text[] =
        "\xFF{{ '\xC3' ~ messages[0].content }}{{ messages[0].content|tojson }}{{ messages[0].content|length }}{{ "
        "messages[0].content|upper }}{{ messages[0].content|list|last }}{{ messages[0].content[::-1] }}{# \xFE #}";
    hybrid_chat_message m[1];
    hybrid_template_desc td;
    hybrid_template *t;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    TEST("bytes");
    m[0].role = "user";
    m[0].content = "a\x80\xE2\x82\xACz\xF0\x9F";
    memset(&td, 0, sizeof td);
    td.text = text;
    CHECK(!hybrid_template_create(rt, &td, &t, &err), "%s", err.message);
    CHECK(!hybrid_chat_render(t, m, 1, NULL, &out, &err), "%s", err.message);
    CHECK(out.data && !strcmp(out.data, "\xFF\xC3"
                                        "a\x80\xE2\x82\xACz\xF0\x9F"
                                        "\"a\xEF\xBF\xBD\xE2\x82\xACz\xEF\xBF\xBD\xEF\xBF\xBD\"6"
                                        "A\x80\xE2\x82\xACZ\xF0\x9F"
                                        "\x9F"
                                        "\x9F\xF0z\xE2\x82\xAC\x80"
                                        "a"),
          "%s", out.data);
    hybrid_text_free(&out);
    hybrid_template_destroy(t);
}

/* The template of a model file whose key tokenizer.chat_template is this. */
static hybrid_template *template_of_file(const char *text)
{
    hybrid_gguf_writer *w = NULL;
    hybrid_text file = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_source source;
    hybrid_model m;
    hybrid_error err;
    memset(&m, 0, sizeof m);
    memset(&source, 0, sizeof source);
    CHECK(!hybrid_gguf_writer_create(NULL, &w, &err), "%s", err.message);
    hybrid_gguf_set_string(w, "tokenizer.chat_template", text, NULL);
    CHECK(!hybrid_gguf_begin(w, append, &file, &err) && !hybrid_gguf_end(w, &err), "%s", err.message);
    hybrid_gguf_writer_destroy(w);
    source.data = file.data;
    source.size = file.size;
    m.rt = rt;
    CHECK(!hybrid_gguf_open(rt, &source, &m.gguf, &err), "%s", err.message);
    if (m.gguf) CHECK(!hyb_model_open_template(&m, &err), "%s", err.message);
    hybrid_gguf_destroy(m.gguf);
    free(file.data);
    return m.chat;
}

/* Files that name one of llama.cpp's templates in the place of one. The texts are those of its own renderer. */
static void named(void)
{
    hybrid_chat_message m[4] = {
        { "system", " s \n" }, { "user", " a " }, { "assistant", " b " }, { "user", "c\n\nd" }
    };
    static const char *const unknown[] = { "rwkv", "rwkv-world ", "llama2", "chatm" };
    hybrid_template *t = template_of_file("rwkv-world");
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_chat_desc d;
    hybrid_error err;
    size_t i;
    TEST("templates by name");
    memset(&d, 0, sizeof d);
    d.add_generation_prompt = true;
    CHECK(t && !hybrid_chat_render(t, m, 4, &d, &out, &err), "%s", err.message);
    CHECK(!strcmp(out.data, "System: s\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nd\n\nAssistant:"), "%s", out.data);
    CHECK(!hybrid_chat_render(t, m, 3, NULL, &out, &err), "%s", err.message);
    CHECK(!strcmp(out.data, "System: s\n\nUser: a\n\nAssistant: b\n\n"), "%s", out.data);
    m[1].role = "tool";
    CHECK(hybrid_chat_render(t, m, 2, &d, &out, &err) == HYBRID_ERROR_INVALID, "a role that it has not");
    CHECK(strstr(err.message, "no role tool"), "%s", err.message);
    hybrid_template_destroy(t);
    t = template_of_file("chatml");
    CHECK(t && !hybrid_chat_render(t, m, 1, NULL, &out, &err), "%s", err.message);
    CHECK(!strcmp(out.data, "<|im_start|>system\n s \n<|im_end|>\n"), "%s", out.data);
    hybrid_template_destroy(t);
    for (i = 0; i < HYB_COUNT(unknown); i++) CHECK(!template_of_file(unknown[i]), "%s is taken", unknown[i]);
    t = template_of_file("{# a template #}x");
    CHECK(t != NULL, "a template with a brace is one");
    hybrid_template_destroy(t);
    hybrid_text_free(&out);
}

static void chat(void)
{
    hybrid_chat_message m[3] = { { "system", "Be brief." }, { "user", "Hi" }, { "assistant", NULL } };
    static const char strict[] = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') "
                                 "}}{% endif %}{{ m.role }}:{{ m.content }};{% endfor %}";
    static const char deaf[] = "{% for m in messages if m.role != 'system' %}{{ m.role }}:{{ m.content }};{% endfor %}";
    hybrid_template_desc td;
    hybrid_chat_desc d;
    hybrid_template *t;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    char *before;
    TEST("chat");
    memset(&d, 0, sizeof d);
    memset(&td, 0, sizeof td);
    CHECK(!hybrid_template_create(NULL, NULL, &t, &err), "%s", err.message);
    d.add_generation_prompt = true;
    CHECK(
        !hybrid_chat_render(t, m, 2, &d, &out, &err) &&
            !strcmp(out.data,
                    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        "%s", out.data);
    before = out.data;
    CHECK(!hybrid_chat_render(t, m, 1, NULL, &out, &err), "%s", out.data);
    CHECK(!strcmp(out.data, "<|im_start|>system\nBe brief.<|im_end|>\n"), "%s", out.data);
    CHECK(out.data == before, "%s", out.data);
    CHECK(!hybrid_chat_render(t, NULL, 0, &d, &out, &err) && !strcmp(out.data, "<|im_start|>assistant\n"), "%s",
          out.data);
    CHECK(hybrid_chat_render(t, m, 3, &d, &out, &err) == HYBRID_ERROR_FORMAT, "None as content: ChatML adds texts");
    CHECK(!out.size, "None as content: ChatML adds texts");
    CHECK(!*out.data, "None as content: ChatML adds texts");
    hybrid_template_destroy(t);
    td.text = strict;
    hybrid_template_create(rt, &td, &t, NULL);
    CHECK(hybrid_chat_render(t, m, 2, &d, &out, &err) == HYBRID_ERROR_INVALID && strstr(err.message, "no system"), "%s",
          err.message);
    d.merge_system = true;
    CHECK(!hybrid_chat_render(t, m, 3, &d, &out, &err) && !strcmp(out.data, "user:Be brief.\nHi;assistant:;"), "%s",
          out.data);
    CHECK(!hybrid_chat_render(t, m, 1, &d, &out, &err) && !strcmp(out.data, "user:Be brief.;"), "%s", out.data);
    d.messages = "[{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"assistant\", \"content\": \"A\"}, "
                 "{\"role\": \"user\", \"content\": [1]}, {\"role\": \"user\", \"content\": \"U\", \"x\": 1}]";
    CHECK(!hybrid_chat_render(t, NULL, 0, &d, &out, &err) && !strcmp(out.data, "assistant:A;user:[1];user:S\nU;"), "%s",
          out.data);
    d.messages = "[1, null]";
    CHECK(hybrid_chat_render(t, NULL, 0, &d, &out, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "element 0"),
          "%s", err.message);
    d.messages = "{}";
    CHECK(hybrid_chat_render(t, NULL, 0, &d, &out, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "messages"),
          "%s", err.message);
    d.messages = NULL;
    d.tools = "nope";
    CHECK(hybrid_chat_render(t, m, 2, &d, &out, &err) == HYBRID_ERROR_FORMAT && strstr(err.message, "tools: JSON"),
          "%s", err.message);
    d.tools = NULL;
    hybrid_template_destroy(t);
    td.text = deaf;
    hybrid_template_create(rt, &td, &t, NULL);
    CHECK(!hybrid_chat_render(t, m, 2, &d, &out, &err) && !strcmp(out.data, "user:Be brief.\nHi;"), "%s", out.data);
    d.merge_system = false;
    CHECK(!hybrid_chat_render(t, m, 2, &d, &out, &err) && !strcmp(out.data, "user:Hi;"), "%s", out.data);
    hybrid_template_destroy(t);
    td.text = "{{ x }}{{ strftime_now('%H:%M') }}{{ documents is none }}{{ tools is none }}{{ bos_token is defined }}";
    hybrid_template_create(rt, &td, &t, NULL);
    d.extra = "{\"x\": 1}";
    d.now = FROZEN;
    d.utc_offset = -150;
    CHECK(!hybrid_chat_render(t, m, 2, &d, &out, &err) && !strcmp(out.data, "109:30TrueTrueFalse"), "%s", out.data);
    hybrid_template_destroy(t);
    hybrid_text_free(&out);
}

/* What jinja2 3.1.6 and transformers give: safe text, ranges, a loop whose turns were all cut short, print of
 * several, keys that are null. */
static void like_python(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "{{ 'A'|safe + '<' }}", "A&lt;" },
        { "{{ '<'|e|e }}", "&lt;" },
        { "{% for q in l %}{% continue %}{% else %}E{% endfor %}", "E" },
        { "{% print 1, 2 %}", "12" },
        { "{{ range(3) }}", "range(0, 3)" },
        { "{{ '{:,}'.format(1234567.5) }}", "1,234,567.5" },
        { "{{ '\xC2\xB2'.isdigit() }}", "True" },
        { "{{ '-5'.zfill(150) == '-' ~ '0' * 148 ~ '5' }}{{ 'ab'.rjust(64) == ' ' * 62 ~ 'ab' }}", "TrueTrue" },
        { "{{ 'ab'.center(201, '\xC3\xA4') == '\xC3\xA4' * 100 ~ 'ab' ~ '\xC3\xA4' * 99 }}", "True" },
        { "{% for m in messages %}{{ m.content }}{{ 'content' in m }}{% endfor %}", "False" },
        { "{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", "TT" },
        { "{{ pad_token }}{{ mask_token is defined }}", "<pad>False" },
    };
    hybrid_template_desc td;
    hybrid_chat_desc d;
    hybrid_template *t;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    size_t i;
    TEST("like Python");
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    d.extra = "{\"l\": [1]}";
    d.pad_token = "<pad>";
    d.messages = "[{\"role\": \"assistant\", \"content\": null, \"reasoning\": \"T\", \"tool_calls\": []}]";
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        td.text = cases[i].text;
        if (hybrid_template_create(rt, &td, &t, &err)) {
            CHECK(false, "%s: %s", cases[i].text, err.message);
            continue;
        }
        CHECK(!hybrid_chat_render(t, NULL, 0, &d, &out, &err), "%s: %s", cases[i].text, err.message);
        CHECK(out.data && !strcmp(out.data, cases[i].want), "%s: %s", cases[i].text, out.data);
        hybrid_template_destroy(t);
    }
    hybrid_text_free(&out);
}

/* Leap days, centuries and the years before 1970, against the calendar of the C library. */
static void calendar(void)
{
    int64_t t;
    TEST("calendar");
    for (t = -70000000000; t < 260000000000; t += 86400 * 397 + 12345) {
        time_t seconds = (time_t)t;
        struct tm *want = gmtime(&seconds);
        hyb_jtime got;
        hyb_jtime_of(t, &got);
        CHECK(want && got.year == want->tm_year + 1900, "%lld", (long long)t);
        CHECK(got.month == want->tm_mon + 1, "%lld", (long long)t);
        CHECK(got.day == want->tm_mday, "%lld", (long long)t);
        CHECK(got.hour == want->tm_hour, "%lld", (long long)t);
        CHECK(got.minute == want->tm_min, "%lld", (long long)t);
        CHECK(got.second == want->tm_sec, "%lld", (long long)t);
        CHECK(got.weekday == want->tm_wday, "%lld", (long long)t);
        CHECK(got.yearday == want->tm_yday, "%lld", (long long)t);
    }
}

/* The two-way search against the naive one. */
static void search(void)
{
    uint32_t seed = 1;
    int round;
    TEST("search");
    for (round = 0; round < 50000; round++) {
        char text[48], needle[24];
        size_t n, m, i, want = SIZE_MAX, letters;
#define NEXT (seed = seed * 1664525u + 1013904223u, seed >> 16)
        letters = 1 + NEXT % 3;
        n = NEXT % 48;
        m = 1 + NEXT % 20;
        for (i = 0; i < n; i++) text[i] = (char)('a' + NEXT % letters);
        for (i = 0; i < m; i++) needle[i] = (char)('a' + NEXT % letters);
        if (n > m && NEXT % 2) memcpy(needle, text + NEXT % (n - m), m);
#undef NEXT
        for (i = 0; i + m <= n && want == SIZE_MAX; i++)
            if (!memcmp(text + i, needle, m)) want = i;
        i = hyb_jfind_long((const unsigned char *)text, n, (const unsigned char *)needle, m);
        if (i != want || hyb_jfind(text, n, needle, m, 0) != want) {
            CHECK(0, "'%.*s' in '%.*s'", (int)m, needle, (int)n, text);
            return;
        }
    }
    CHECK(1, "all");
}

/* One template, several threads. */
typedef struct shared {
    hybrid_template *t;
    bool good[64];
} shared;
static void render_one(void *arg, int index, int lane)
{
    hybrid_chat_message m[2] = { { "system", "\xC3\xA4"
                                             "b" },
                                 { "user", "x" } };
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    shared *s = (shared *)arg;
    HYB_UNUSED(lane);
    s->good[index] = !hybrid_chat_render(s->t, m, 2, NULL, &out, NULL) && !strcmp(out.data, "\xC3\xA4"
                                                                                            "b4\xC3\xA4x4\xC3\xA4");
    hybrid_text_free(&out);
}
static void threads(void)
{
    hybrid_template_desc td;
    hybrid_runtime_desc desc;
    hybrid_runtime *many;
    shared s;
    int i;
    TEST("threads");
    memset(&s, 0, sizeof s);
    memset(&td, 0, sizeof td);
    memset(&desc, 0, sizeof desc);
    desc.n_threads = 4;
    td.text = "{% macro f(a) %}{{ a }}{{ '\xC3\xA4' 'bcd'|length }}{{ 'x\xC3\xA4'[1] }}{% endmacro %}{% for m in "
              "messages %}{{ f(m.content) }}{% endfor %}";
    hybrid_runtime_create(&desc, &many, NULL);
    CHECK(!hybrid_template_create(many, &td, &s.t, NULL), "create");
    hyb_parallel(many, 64, render_one, &s);
    for (i = 0; i < 64; i++) CHECK(s.good[i], "%d", i);
    hybrid_template_destroy(s.t);
    hybrid_runtime_destroy(many);
}

/* ---- memory that runs out ---------------------------------------------------------------------------------------- */

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

/* Fails the N-th allocation for all N of create + render, with small chunks so that every kind of allocation is the
 * one that fails. */
static void memory(void)
{
    static const char text[] =
        "{% macro f(a, b=1) %}{{ a ~ b }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}{% set ns = namespace(x=[], "
        "s='') %}{% for m in messages if m.role != 'z' %}"
        "{% set ns.x = ns.x + [m.content|upper, {'k': m.role, (1, 2): 3}] %}{% set ns.s = ns.s ~ m.content * 50 %}{{ "
        "loop.index }}{{ f(m.content, q=2) }}{% endfor %}{{ ns.x|tojson if false else ns.x }}"
        "{% call f(1) %}{% filter upper %}{{ ns.s|length }}x{% endfilter %}{% endcall %}{{ "
        "'a-b-c'.split('-')|map('upper')|sort(reverse=true)|join }}{{ tools|tojson(indent=2) }}{{ '%s %5.1f' % ('a', "
        "2.5) }}"
        "{{ tools|groupby('a') }}{{ tools|selectattr('a')|list }}{% set q %}{% for i in [1, [2]] recursive %}{{ "
        "loop(i) if i is iterable else i }}{% endfor %}{% endset %}{{ q[::-1] }}{{ range(40)|list }}{{ dict(a=1, "
        "**{'b': 2}) }}"
        "{{ 'abc'|replace('b', 'x')|list|unique|list }}{{ [3, 1, 2]|sort }}{{ strftime_now('%Y') }}{{ extra }}{{ 'x' * "
        "30000 }}";
    static const hybrid_chat_message m[3] = { { "system", "Be brief." },
                                              { "user", "Hi" },
                                              { "assistant", "Hello \xC3\xA4" } };
    hybrid_runtime_desc desc;
    hybrid_template_desc td;
    hybrid_chat_desc d;
    hybrid_runtime *poor;
    hybrid_template *t;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    size_t n, before;
    TEST("out of memory");
    memset(&desc, 0, sizeof desc);
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    desc.allocator.alloc = failing_alloc;
    desc.allocator.free = counting_free;
    td.text = text;
    d.tools = "[{\"a\": 1}, {\"a\": 2}]";
    d.extra = "{\"extra\": {\"b\": [1, 2.5]}}";
    d.merge_system = true;
    countdown = SIZE_MAX;
    hybrid_runtime_create(&desc, &poor, NULL);
    before = live;
    for (n = 0; r == HYBRID_ERROR_MEMORY && n < 10000; n++) {
        countdown = n;
        if (!(r = hybrid_template_create(poor, &td, &t, &err))) {
            r = hybrid_chat_render(t, m, 3, &d, &out, &err);
            CHECK(!r || (out.size == 0 && !out.data), "allocation %lu", (unsigned long)n);
            hybrid_template_destroy(t);
        }
        countdown = SIZE_MAX;
        hybrid_text_free(&out);
        CHECK(live == before, "allocation %lu: %lu blocks are left", (unsigned long)n, (unsigned long)(live - before));
    }
    CHECK(!r && n > 15, "%lu: %s", (unsigned long)n, err.message);
    hybrid_runtime_destroy(poor);
    CHECK(!live, "%lu blocks are left", (unsigned long)live);
}

int main(void)
{
    hybrid_error err;
    if (hybrid_runtime_create(NULL, &rt, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    vectors_snippets();
    vectors_whitespace();
    vectors_e2e();
    vectors_llamacpp();
    vectors_jinja2("tests/oracle/data/jinja.json");
    vectors_chats("tests/oracle/data/jinja.json");
    limits();
    if (!getenv("HYBRID_SANITIZER") || strcmp(getenv("HYBRID_SANITIZER"), "thread")) bombs();
    stack_deep();
    stack_real();
    bytes();
    named();
    chat();
    like_python();
    calendar();
    search();
    threads();
    memory();
    hybrid_runtime_destroy(rt);
    return test_end();
}
