/* text/chat: a conversation as the variables that chat templates expect. */
#ifndef HYB_TEXT_CHAT_C
#define HYB_TEXT_CHAT_C
#include "template.c"

static bool hyb_chat_put_text(hyb_jinja *j, hyb_jdict *d, const char *name, const char *text)
{
    hyb_jvalue v = hyb_jnone();
    if (text && !hyb_jinja_view(j, text, strlen(text), &v)) return false;
    return hyb_jinja_check(j, hyb_jdict_put(&j->arena, d, name, v));
}

static bool hyb_chat_list(hyb_jinja *j, const hybrid_chat_message *messages, size_t n, hyb_jvalue *out)
{
    hyb_jvalue one;
    size_t i;
    if (!hyb_jinja_new_list(j, n, HYB_J_PLAIN, out)) return false;
    for (i = 0; i < n; i++)
        if (!hyb_jinja_check(j, hyb_jdict_new(&j->arena, &one)) ||
            !hyb_chat_put_text(j, one.u.dict, "role", messages[i].role) ||
            !hyb_chat_put_text(j, one.u.dict, "content", messages[i].content) || !hyb_jinja_push(j, *out, one))
            return false;
    return true;
}

/* A message as apply_chat_template passes it on: without the members that are None, and with what was thought under the
 * names that templates ask for: "reasoning_content", "thinking" (whichever of these and "reasoning" the message
 * has). */
static bool hyb_chat_prepare_one(hyb_jinja *j, const hyb_jdict *from, hyb_jvalue *out)
{
    static const char *const names[] = { "reasoning_content", "thinking", "reasoning" };
    const hyb_jvalue *thought = NULL;
    uint32_t i;
    if (!hyb_jinja_check(j, hyb_jdict_new(&j->arena, out))) return false;
    for (i = 0; i < HYB_COUNT(names) && !(thought && thought->type != HYB_J_NONE); i++)
        thought = hyb_jdict_get(&j->arena, from, names[i]);
    if (thought && thought->type == HYB_J_NONE) thought = NULL;
    if (thought && !hyb_jinja_check(j, hyb_jdict_put(&j->arena, out->u.dict, "thinking", *thought))) return false;
    for (i = 0; i < from->n; i++)
        if (from->entries[i].value.type != HYB_J_NONE &&
            !hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, from->entries[i].key, from->entries[i].value)))
            return false;
    return !thought || hyb_jinja_check(j, hyb_jdict_put(&j->arena, out->u.dict, "reasoning_content", *thought));
}
static bool hyb_chat_prepare(hyb_jinja *j, hyb_jvalue *messages)
{
    hyb_jvalue list, one;
    size_t i;
    if (!hyb_jinja_new_list(j, messages->u.list->n, HYB_J_PLAIN, &list)) return false;
    for (i = 0; i < messages->u.list->n; i++) {
        const hyb_jvalue *m = &messages->u.list->items[i];
        if (m->type != HYB_J_DICT) {
            j->result = hyb_fail(j->error, HYBRID_ERROR_FORMAT, "messages: element %lu must be a JSON object",
                                 (unsigned long)i);
            return false;
        }
        if (!hyb_chat_prepare_one(j, m->u.dict, &one) || !hyb_jinja_push(j, list, one)) return false;
    }
    *messages = list;
    return true;
}

/* The text of a member of a message, NULL: it has none. */
static const hyb_jstring *hyb_chat_text(hyb_jinja *j, hyb_jvalue message, const char *name)
{
    const hyb_jvalue *v = message.type == HYB_J_DICT ? hyb_jdict_get(&j->arena, message.u.dict, name) : NULL;
    return v && v->type == HYB_J_STRING ? v->u.s : NULL;
}

/* The text of the system message that the conversation begins with, or NULL. */
static const hyb_jstring *hyb_chat_system(hyb_jinja *j, hyb_jvalue messages)
{
    const hyb_jstring *role = messages.u.list->n ? hyb_chat_text(j, messages.u.list->items[0], "role") : NULL;
    return role && hyb_jstring_is(role, "system") ? hyb_chat_text(j, messages.u.list->items[0], "content") : NULL;
}

/* The same conversation with the system's text before the first user message's, or as one when there is none. */
static bool hyb_chat_merge(hyb_jinja *j, const hyb_jlist *from, const hyb_jstring *system, hyb_jvalue *out)
{
    const hyb_jstring *role = NULL, *text = NULL;
    hyb_jvalue one, content;
    size_t i, k, at;
    for (at = 1; at < from->n; at++) {
        role = hyb_chat_text(j, from->items[at], "role");
        text = hyb_chat_text(j, from->items[at], "content");
        if (role && text && hyb_jstring_is(role, "user")) break;
    }
    if (!hyb_jinja_new_list(j, from->n, HYB_J_PLAIN, out) || !hyb_jinja_check(j, hyb_jdict_new(&j->arena, &one)) ||
        !hyb_jinja_view(j, system->p, system->n, &content))
        return false;
    if (at == from->n) {
        if (!hyb_chat_put_text(j, one.u.dict, "role", "user") ||
            !hyb_jinja_check(j, hyb_jdict_put(&j->arena, one.u.dict, "content", content)) ||
            !hyb_jinja_push(j, *out, one))
            return false;
    } else {
        const hyb_jdict *d = from->items[at].u.dict; /* its other members stay */
        for (k = 0; k < d->n; k++)
            if (!hyb_jinja_check(j, hyb_jdict_set(&j->arena, one.u.dict, d->entries[k].key, d->entries[k].value)))
                return false;
        if (!hyb_jinja_check(j, hyb_jstring_concat(&j->arena, content.u.s, "\n", 1, &content)) ||
            !hyb_jinja_check(j, hyb_jstring_concat(&j->arena, content.u.s, text->p, text->n, &content)) ||
            !hyb_jinja_check(j, hyb_jdict_put(&j->arena, one.u.dict, "content", content)))
            return false;
    }
    for (i = 1; i < from->n; i++)
        if (!hyb_jinja_push(j, *out, i == at ? one : from->items[i])) return false;
    return true;
}

enum { HYB_CHAT_MESSAGES, HYB_CHAT_TOOLS, HYB_CHAT_EXTRA, HYB_CHAT_DOCS };

/* The variables of apply_chat_template. */
static bool hyb_chat_context(hyb_jinja *j, const hybrid_chat_desc *desc, hyb_jvalue messages,
                             hyb_json_doc docs[HYB_CHAT_DOCS])
{
    static const char *const tokens[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token" };
    const char *names[7];
    hyb_jvalue tools = hyb_jnone(), extra;
    hyb_jdict *c = j->context;
    size_t i;
    if (desc->tools && !hyb_render_json(j, "tools", desc->tools, 0, HYB_JSON_ARRAY, &docs[HYB_CHAT_TOOLS], &tools))
        return false;
    if (!hyb_jinja_check(j, hyb_jdict_put(&j->arena, c, "messages", messages) &&
                                hyb_jdict_put(&j->arena, c, "tools", tools) &&
                                hyb_jdict_put(&j->arena, c, "documents", hyb_jnone()) &&
                                hyb_jdict_put(&j->arena, c, "add_generation_prompt",
                                              hyb_jbool(desc->add_generation_prompt))))
        return false;
    names[0] = desc->bos_token;
    names[1] = desc->eos_token;
    names[2] = desc->unk_token;
    names[3] = desc->sep_token;
    names[4] = desc->pad_token;
    names[5] = desc->cls_token;
    names[6] = desc->mask_token;
    for (i = 0; i < HYB_COUNT(tokens); i++)
        if (names[i] && !hyb_chat_put_text(j, c, tokens[i], names[i])) return false;
    if (!desc->extra) return true;
    if (!hyb_render_json(j, "extra", desc->extra, 0, HYB_JSON_OBJECT, &docs[HYB_CHAT_EXTRA], &extra)) return false;
    for (i = 0; i < extra.u.dict->n; i++)
        if (!hyb_jinja_check(j,
                             hyb_jdict_set(&j->arena, c, extra.u.dict->entries[i].key, extra.u.dict->entries[i].value)))
            return false;
    return true;
}

/* One attempt. lost: the conversation begins with a system message, and the template refused it or did not write its
 * text. */
static hybrid_result hyb_chat_attempt(const hybrid_template *tmpl, const hybrid_chat_message *messages, size_t n,
                                      const hybrid_chat_desc *desc, bool merge, hybrid_text *out, bool *lost,
                                      hybrid_error *error)
{
    hyb_json_doc docs[HYB_CHAT_DOCS];
    const hyb_jstring *system = NULL;
    hyb_jvalue list = hyb_jnone();
    hyb_jinja j;
    hybrid_result result;
    bool ok;
    int i;
    memset(docs, 0, sizeof docs);
    ok = hyb_render_begin(tmpl, &desc->limits, desc->now, desc->utc_offset, &j, error) &&
         (desc->messages
              ? hyb_render_json(&j, "messages", desc->messages, 0, HYB_JSON_ARRAY, &docs[HYB_CHAT_MESSAGES], &list)
              : hyb_chat_list(&j, messages, n, &list)) &&
         hyb_chat_prepare(&j, &list);
    if (ok) system = hyb_chat_system(&j, list);
    ok = ok && (!merge || hyb_chat_merge(&j, list.u.list, system, &list)) && hyb_chat_context(&j, desc, list, docs);
    result = ok ? hyb_render_page(&j, out) : j.result;
    *lost = false;
    if (ok && system && !merge) {
        const char *p = system->p, *end = p + system->n, *line;
        hyb_jtrim(&p, &end, true, true);
        /* the first line: templates may indent or escape the others */
        for (line = p; line < end && *line != '\n'; line++) {}
        *lost = result == HYBRID_ERROR_INVALID ||
                (!result && line > p && hyb_jfind(out->data, out->size, p, (size_t)(line - p), 0) == SIZE_MAX);
    }
    hyb_jarena_free(&j.arena);
    for (i = 0; i < HYB_CHAT_DOCS; i++) hyb_json_free(&docs[i]);
    return result;
}

HYB_BORDER(hybrid_result, hybrid_chat_render,
           (const hybrid_template *tmpl, const hybrid_chat_message *messages, size_t n, const hybrid_chat_desc *desc,
            hybrid_text *out, hybrid_error *error),
           (tmpl, messages, n, desc, out, error))
{
    static const hybrid_chat_desc zero = { false, false,          NULL, NULL, NULL, NULL, NULL, 0,
                                           0,     { 0, 0, 0, 0 }, NULL, NULL, NULL, NULL, NULL };
    hybrid_result result;
    bool lost;
    size_t i;
    if (!out) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: out is NULL");
    hyb_text_empty(out);
    if (!tmpl)
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "this model has no chat template (a base model): let it continue text, or make a template "
            "(hybrid_template_create(NULL, NULL, ...) gives that of ChatML); hybrid_chat_render: tmpl is NULL");
    if (!desc) desc = &zero;
    if (n && !messages && !desc->messages)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: messages is NULL");
    for (i = 0; !desc->messages && i < n; i++)
        if (!messages[i].role)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: message %lu has no role",
                            (unsigned long)i);
    result = hyb_chat_attempt(tmpl, messages, n, desc, false, out, &lost, error);
    if (!lost || !desc->merge_system) return result;
    hyb_text_empty(out);
    return hyb_chat_attempt(tmpl, messages, n, desc, true, out, &lost, error);
}
#endif
