/* text/template: the public face of the template interpreter: create, render, and text that is handed out. */
#ifndef HYB_TEXT_TEMPLATE_C
#define HYB_TEXT_TEMPLATE_C
#include "../api/chat.h"
#include "../core/grow.c"
#include "../core/lifetime.c"
#include "../gguf/names.c"
#include "jinja/eval.c"

struct hybrid_template {
    hybrid_runtime *rt;
    hyb_jarena arena; /* holds the tree and a copy of the text */
    hyb_jtree tree;
    const char *source;
    size_t n_source;
    bool js;
};

HYB_BORDER_VOID(hybrid_text_free, (hybrid_text * text), (text))
{
    if (!text) return;
    if (text->runtime) {
        hyb_free(text->runtime, text->data);
        hyb_free(text->runtime, text->own);
        hyb_runtime_release(text->runtime);
    }
    memset(text, 0, sizeof *text);
}

/* The memory of a text is that of rt from now on. */
static void hyb_text_adopt(hybrid_runtime *rt, hybrid_text *text)
{
    if (text->runtime == rt) return;
    hybrid_text_free(text);
    text->runtime = rt;
    hyb_atomic_add(&rt->references, 1);
}
static void hyb_text_empty(hybrid_text *text)
{
    text->size = text->n_own = 0;
    if (text->data) text->data[0] = 0;
}

/* None of the text is a template's own. */
static hybrid_result hyb_text_set(hybrid_runtime *rt, hybrid_text *text, const char *p, size_t n, hybrid_error *error)
{
    if (text->runtime != rt) hybrid_text_free(text);
    if (text->capacity <= n) {
        char *data = (char *)hyb_alloc(rt, n + 1);
        if (!data) return hyb_fail_memory(error, n + 1);
        hyb_text_adopt(rt, text);
        hyb_free(rt, text->data);
        text->data = data;
        text->capacity = n + 1;
    }
    if (n) memcpy(text->data, p, n);
    text->data[n] = 0;
    text->size = n;
    text->n_own = 0;
    return HYBRID_OK;
}

/* Jinja's view of a text: every line break is "\n", and one at the very end is dropped. */
static size_t hyb_template_newlines(const char *p, size_t n, char *out)
{
    size_t i, m = 0;
    for (i = 0; i < n; i++) {
        if (p[i] == '\r') {
            out[m++] = '\n';
            i += i + 1 < n && p[i + 1] == '\n';
        } else
            out[m++] = p[i];
    }
    return m - (m && out[m - 1] == '\n');
}

/* In the place of a template some files have the name of one that llama.cpp holds: text becomes that template. false:
 * it is another name, with which every prompt would be that name and nothing else. */
static bool hyb_template_resolve(hybrid_string *text)
{
    static const char *const named[][2] = { { "chatml", HYBRID_TEMPLATE_CHATML },
                                            { "rwkv-world", HYBRID_TEMPLATE_RWKV_WORLD } };
    size_t i;
    if (memchr(text->data, '{', text->size)) return true;
    for (i = 0; i < HYB_COUNT(named); i++) {
        if (!hyb_string_is(*text, named[i][0])) continue;
        text->data = named[i][1];
        text->size = strlen(named[i][1]);
        return true;
    }
    return false;
}

HYB_BORDER(hybrid_result, hybrid_template_create,
           (hybrid_runtime * runtime, const hybrid_template_desc *desc, hybrid_template **tmpl, hybrid_error *error),
           (runtime, desc, tmpl, error))
{
    enum { LARGEST = 16 << 20, MEMORY = 512 << 20 };
    const char *text = desc && desc->text ? desc->text : HYBRID_TEMPLATE_CHATML;
    hybrid_template *t;
    hybrid_runtime *rt;
    hybrid_result result;
    char *source;
    size_t n = desc && desc->text && desc->size ? desc->size : strlen(text);
    if (!tmpl) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_template_create: tmpl is NULL");
    *tmpl = NULL;
    if (desc && (unsigned)desc->dialect > HYBRID_TEMPLATE_JS)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_template_create: there is no dialect %d",
                        (int)desc->dialect);
    if (n > LARGEST)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "hybrid_template_create: the template has %llu bytes, at most 16 MB are read",
                        (unsigned long long)n);
    if ((result = hyb_runtime_retain(runtime, &rt, error))) return result;
    if (!(t = (hybrid_template *)hyb_calloc(rt, 1, sizeof *t))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *t);
    }
    t->rt = t->arena.rt = rt;
    t->arena.max_bytes = MEMORY;
    t->arena.steps = UINT64_MAX;
    hyb_stack_open(&t->arena.stack);
    t->js = desc && desc->dialect == HYBRID_TEMPLATE_JS;
    if (!(source = (char *)hyb_jarena_alloc(&t->arena, n)))
        result = hyb_fail_memory(error, n);
    else {
        t->source = source;
        t->n_source = hyb_template_newlines(text, n, source);
        result = hyb_jparse(&t->arena, source, t->n_source, !desc || !desc->no_trim_blocks,
                            !desc || !desc->no_lstrip_blocks, &t->tree, error);
    }
    if (result)
        hybrid_template_destroy(t);
    else
        *tmpl = t;
    return result;
}

HYB_BORDER_VOID(hybrid_template_destroy, (hybrid_template * tmpl), (tmpl))
{
    hybrid_runtime *rt;
    if (!tmpl) return;
    rt = tmpl->rt;
    hyb_jarena_free(&tmpl->arena);
    hyb_free(rt, tmpl);
    hyb_runtime_release(rt);
}

/* A render's state, before there are variables: they go into j->context. False: error set; the arena must be freed
 * all the same. */
static bool hyb_render_begin(const hybrid_template *t, const hybrid_template_limits *limits, int64_t now,
                             int utc_offset, hyb_jinja *j, hybrid_error *error)
{
    enum { DEPTH = 500, DEEPEST = 10000 };
    hyb_jvalue context;
    memset(j, 0, sizeof *j);
    j->arena.rt = t->rt;
    j->arena.own = &t->arena;
    hyb_stack_open(&j->arena.stack);
    j->arena.max_bytes = limits->max_memory ? limits->max_memory : (size_t)256 << 20;
    j->arena.steps = limits->max_steps ? limits->max_steps : 100000000;
    j->max_output = limits->max_output ? limits->max_output : (size_t)64 << 20;
    j->depth = limits->max_depth > 0 ? HYB_MIN(limits->max_depth, DEEPEST) : DEPTH;
    j->source = t->source;
    j->n_source = t->n_source;
    j->tree = &t->tree;
    j->js = t->js;
    j->error = error;
    j->out = &j->page;
    j->now = HYB_MAX(HYB_MIN(now ? now : (int64_t)time(NULL), (int64_t)1 << 50), -((int64_t)1 << 50)) +
             (int64_t)utc_offset * 60;
    if (!hyb_jdict_new(&j->arena, &context)) return hyb_jinja_spent(j);
    j->context = context.u.dict;
    return true;
}
/* A JSON text as a value. doc must be freed after the render (also after a failure). what: for the message. */
static bool hyb_render_json(hyb_jinja *j, const char *what, const char *text, size_t n, hyb_json_type type,
                            hyb_json_doc *doc, hyb_jvalue *out)
{
    hybrid_error e;
    hybrid_result result = hyb_json_parse(j->arena.rt, text, n ? n : strlen(text), HYB_JSON_DEPTH,
                                          j->arena.max_bytes / sizeof(hyb_json), doc, &e);
    if (!result && doc->root->type != type) {
        result = HYBRID_ERROR_FORMAT;
        snprintf(e.message, sizeof e.message, "must be a JSON %s", type == HYB_JSON_ARRAY ? "array" : "object");
        e.offset = 0;
    }
    if (!result) return hyb_jfrom_json(&j->arena, doc->root, out) || hyb_jinja_spent(j);
    j->result = hyb_fail_at(j->error, result, e.offset, "%s: %.200s", what, e.message);
    return false;
}

/* A text that was given, as one of the template's own. */
static bool hyb_render_own(hyb_jinja *j, hyb_jvalue *v)
{
    if (!hyb_jinja_check(j, hyb_jstring_copy(&j->arena, v->u.s->p, v->u.s->n, v))) return false;
    hyb_jown_set(&j->arena, v->u.s->p, v->u.s->n);
    return true;
}

/* What is given and yet the template's own: its special tokens, and usual roles, of which some templates make tokens.
 * Any other role is a stranger's word. */
static bool hyb_render_trust(hyb_jinja *j)
{
    static const char *const tokens[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token" };
    static const char roles[] = "system developer user human assistant model gpt bot ai tool tools tool_call "
                                "tool_response function function_call function_response ipython observation "
                                "environment context document documents";
    hyb_jvalue *v;
    size_t i;
    for (i = 0; i < HYB_COUNT(tokens); i++)
        if ((v = hyb_jdict_get(&j->arena, j->context, tokens[i])) && v->type == HYB_J_STRING && !hyb_render_own(j, v))
            return false;
    v = hyb_jdict_get(&j->arena, j->context, "messages");
    for (i = 0; v && v->type == HYB_J_LIST && i < v->u.list->n; i++) {
        const hyb_jvalue *m = &v->u.list->items[i];
        hyb_jvalue *role = m->type == HYB_J_DICT ? hyb_jdict_get(&j->arena, m->u.dict, "role") : NULL;
        if (role && role->type == HYB_J_STRING && hyb_jword(roles, role->u.s->p, role->u.s->n) >= 0 &&
            !hyb_render_own(j, role))
            return false;
    }
    return !j->arena.result || hyb_jinja_spent(j);
}

/* Which bytes of the page are the template's own, as spans. */
static hybrid_result hyb_render_spans(hyb_jinja *j, hybrid_text *out)
{
    size_t at = 0, begin, i, n = j->page.size;
    bool own;
    const uint8_t *bits = n ? hyb_jbits(&j->arena, j->page.data, &at, &own) : NULL;
    hybrid_result r;
    hyb_text_adopt(j->arena.rt, out);
    out->n_own = 0;
    for (i = 0; bits && i < n;) {
        if ((at + i) % 8 == 0 && !bits[(at + i) / 8]) {
            i += 8;
            continue;
        }
        if (!(bits[(at + i) / 8] >> (at + i) % 8 & 1)) {
            i++;
            continue;
        }
        for (begin = i; i < n && (bits[(at + i) / 8] >> (at + i) % 8 & 1);)
            i += (at + i) % 8 == 0 && bits[(at + i) / 8] == 255 ? 8 : 1;
        if ((r = HYB_GROW(j->arena.rt, out->own, out->own_capacity, out->n_own, out->n_own + 1, j->error))) return r;
        out->own[out->n_own].begin = begin;
        out->own[out->n_own++].end = HYB_MIN(i, n);
    }
    return HYBRID_OK;
}

static hybrid_result hyb_render_page(hyb_jinja *j, hybrid_text *out)
{
    hyb_jscope root;
    hybrid_result r;
    size_t n_own;
    hyb_jscope_open(&root, NULL);
    if (!hyb_render_trust(j) || hyb_jinja_run(j, &root, j->tree->body) == HYB_J_FAILED) return j->result;
    if ((r = hyb_render_spans(j, out)) != HYBRID_OK) {
        hyb_text_empty(out);
        return r;
    }
    n_own = out->n_own;
    r = hyb_text_set(j->arena.rt, out, j->page.data, j->page.size, j->error);
    out->n_own = r ? 0 : n_own;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_template_render,
           (const hybrid_template *tmpl, const hybrid_render_desc *desc, hybrid_text *out, hybrid_error *error),
           (tmpl, desc, out, error))
{
    static const hybrid_render_desc zero = { NULL, 0, 0, 0, { 0, 0, 0, 0 } };
    hyb_json_doc doc;
    hyb_jinja j;
    hyb_jvalue context;
    hybrid_result result;
    bool ok;
    if (!out) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_template_render: out is NULL");
    hyb_text_empty(out);
    if (!tmpl)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_template_render: tmpl is NULL (a model that has no chat template gives none)");
    if (!desc) desc = &zero;
    memset(&doc, 0, sizeof doc);
    ok = hyb_render_begin(tmpl, &desc->limits, desc->now, desc->utc_offset, &j, error);
    if (ok && desc->context) {
        ok = hyb_render_json(&j, "context", desc->context, desc->context_size, HYB_JSON_OBJECT, &doc, &context);
        if (ok) j.context = context.u.dict;
    }
    result = ok ? hyb_render_page(&j, out) : j.result;
    hyb_jarena_free(&j.arena);
    hyb_json_free(&doc);
    return result;
}
#endif
