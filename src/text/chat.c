/* text/chat: a conversation as the variables that chat templates expect. */

static bool hybrid__chat_put_text(hybrid__jinja *j, hybrid__jdict *d, const char *name, const char *text)
{
    hybrid__jvalue v = hybrid__jnone();
    if (text && !hybrid__jinja_view(j, text, strlen(text), &v)) return false;
    return hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, d, name, v));
}

static bool hybrid__chat_list(hybrid__jinja *j, const hybrid_chat_message *messages, size_t n, hybrid__jvalue *out)
{
    hybrid__jvalue one;
    size_t i;
    if (!hybrid__jinja_new_list(j, n, HYBRID__J_PLAIN, out)) return false;
    for (i = 0; i < n; i++)
        if (!hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &one)) || !hybrid__chat_put_text(j, one.u.dict, "role", messages[i].role)
            || !hybrid__chat_put_text(j, one.u.dict, "content", messages[i].content) || !hybrid__jinja_push(j, *out, one)) return false;
    return true;
}

/* A message as apply_chat_template passes it on: without the members that are None, and with what was thought under the names that
 * templates ask for: "reasoning_content", "thinking" (whichever of these and "reasoning" the message has). */
static bool hybrid__chat_prepare_one(hybrid__jinja *j, const hybrid__jdict *from, hybrid__jvalue *out)
{
    static const char *const names[] = { "reasoning_content", "thinking", "reasoning" };
    const hybrid__jvalue *thought = NULL;
    uint32_t i;
    if (!hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, out))) return false;
    for (i = 0; i < HYBRID__COUNT(names) && !(thought && thought->type != HYBRID__J_NONE); i++) thought = hybrid__jdict_get(&j->arena, from, names[i]);
    if (thought && thought->type == HYBRID__J_NONE) thought = NULL;
    if (thought && !hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, out->u.dict, "thinking", *thought))) return false;
    for (i = 0; i < from->n; i++)
        if (from->entries[i].value.type != HYBRID__J_NONE
            && !hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, out->u.dict, from->entries[i].key, from->entries[i].value))) return false;
    return !thought || hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, out->u.dict, "reasoning_content", *thought));
}
static bool hybrid__chat_prepare(hybrid__jinja *j, hybrid__jvalue *messages)
{
    hybrid__jvalue list, one;
    size_t i;
    if (!hybrid__jinja_new_list(j, messages->u.list->n, HYBRID__J_PLAIN, &list)) return false;
    for (i = 0; i < messages->u.list->n; i++) {
        const hybrid__jvalue *m = &messages->u.list->items[i];
        if (m->type != HYBRID__J_DICT) {
            j->result = hybrid__fail(j->error, HYBRID_ERROR_FORMAT, "messages: element %lu must be a JSON object", (unsigned long)i);
            return false;
        }
        if (!hybrid__chat_prepare_one(j, m->u.dict, &one) || !hybrid__jinja_push(j, list, one)) return false;
    }
    *messages = list;
    return true;
}

/* The text of a member of a message, NULL: it has none. */
static const hybrid__jstring *hybrid__chat_text(hybrid__jinja *j, hybrid__jvalue message, const char *name)
{
    const hybrid__jvalue *v = message.type == HYBRID__J_DICT ? hybrid__jdict_get(&j->arena, message.u.dict, name) : NULL;
    return v && v->type == HYBRID__J_STRING ? v->u.s : NULL;
}

/* The text of the system message that the conversation begins with, or NULL. */
static const hybrid__jstring *hybrid__chat_system(hybrid__jinja *j, hybrid__jvalue messages)
{
    const hybrid__jstring *role = messages.u.list->n ? hybrid__chat_text(j, messages.u.list->items[0], "role") : NULL;
    return role && hybrid__jstring_is(role, "system") ? hybrid__chat_text(j, messages.u.list->items[0], "content") : NULL;
}

/* The same conversation with the system's text before the first user message's, or as one when there is none. */
static bool hybrid__chat_merge(hybrid__jinja *j, const hybrid__jlist *from, const hybrid__jstring *system, hybrid__jvalue *out)
{
    const hybrid__jstring *role = NULL, *text = NULL;
    hybrid__jvalue one, content;
    size_t i, k, at;
    for (at = 1; at < from->n; at++) {
        role = hybrid__chat_text(j, from->items[at], "role");
        text = hybrid__chat_text(j, from->items[at], "content");
        if (role && text && hybrid__jstring_is(role, "user")) break;
    }
    if (!hybrid__jinja_new_list(j, from->n, HYBRID__J_PLAIN, out) || !hybrid__jinja_check(j, hybrid__jdict_new(&j->arena, &one))
        || !hybrid__jinja_view(j, system->p, system->n, &content)) return false;
    if (at == from->n) {
        if (!hybrid__chat_put_text(j, one.u.dict, "role", "user") || !hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, one.u.dict, "content", content))
            || !hybrid__jinja_push(j, *out, one)) return false;
    } else {
        const hybrid__jdict *d = from->items[at].u.dict;     /* its other members stay */
        for (k = 0; k < d->n; k++) if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, one.u.dict, d->entries[k].key, d->entries[k].value))) return false;
        if (!hybrid__jinja_check(j, hybrid__jstring_concat(&j->arena, content.u.s, "\n", 1, &content))
            || !hybrid__jinja_check(j, hybrid__jstring_concat(&j->arena, content.u.s, text->p, text->n, &content))
            || !hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, one.u.dict, "content", content))) return false;
    }
    for (i = 1; i < from->n; i++) if (!hybrid__jinja_push(j, *out, i == at ? one : from->items[i])) return false;
    return true;
}

enum { HYBRID__CHAT_MESSAGES, HYBRID__CHAT_TOOLS, HYBRID__CHAT_EXTRA, HYBRID__CHAT_DOCS };

/* The variables of apply_chat_template. */
static bool hybrid__chat_context(hybrid__jinja *j, const hybrid_chat_desc *desc, hybrid__jvalue messages, hybrid__json_doc docs[HYBRID__CHAT_DOCS])
{
    static const char *const tokens[] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token" };
    const char *names[7];
    hybrid__jvalue tools = hybrid__jnone(), extra;
    hybrid__jdict *c = j->context;
    size_t i;
    if (desc->tools && !hybrid__render_json(j, "tools", desc->tools, 0, HYBRID__JSON_ARRAY, &docs[HYBRID__CHAT_TOOLS], &tools)) return false;
    if (!hybrid__jinja_check(j, hybrid__jdict_put(&j->arena, c, "messages", messages) && hybrid__jdict_put(&j->arena, c, "tools", tools)
            && hybrid__jdict_put(&j->arena, c, "documents", hybrid__jnone())
            && hybrid__jdict_put(&j->arena, c, "add_generation_prompt", hybrid__jbool(desc->add_generation_prompt)))) return false;
    names[0] = desc->bos_token; names[1] = desc->eos_token; names[2] = desc->unk_token; names[3] = desc->sep_token;
    names[4] = desc->pad_token; names[5] = desc->cls_token; names[6] = desc->mask_token;
    for (i = 0; i < HYBRID__COUNT(tokens); i++) if (names[i] && !hybrid__chat_put_text(j, c, tokens[i], names[i])) return false;
    if (!desc->extra) return true;
    if (!hybrid__render_json(j, "extra", desc->extra, 0, HYBRID__JSON_OBJECT, &docs[HYBRID__CHAT_EXTRA], &extra)) return false;
    for (i = 0; i < extra.u.dict->n; i++)
        if (!hybrid__jinja_check(j, hybrid__jdict_set(&j->arena, c, extra.u.dict->entries[i].key, extra.u.dict->entries[i].value))) return false;
    return true;
}

/* One attempt. lost: the conversation begins with a system message, and the template refused it or did not write its text. */
static hybrid_result hybrid__chat_attempt(const hybrid_template *tmpl, const hybrid_chat_message *messages, size_t n, const hybrid_chat_desc *desc,
    bool merge, hybrid_text *out, bool *lost, hybrid_error *error)
{
    hybrid__json_doc docs[HYBRID__CHAT_DOCS];
    const hybrid__jstring *system = NULL;
    hybrid__jvalue list = hybrid__jnone();
    hybrid__jinja j;
    hybrid_result result;
    bool ok;
    int i;
    memset(docs, 0, sizeof docs);
    ok = hybrid__render_begin(tmpl, &desc->limits, desc->now, desc->utc_offset, &j, error)
        && (desc->messages ? hybrid__render_json(&j, "messages", desc->messages, 0, HYBRID__JSON_ARRAY, &docs[HYBRID__CHAT_MESSAGES], &list)
            : hybrid__chat_list(&j, messages, n, &list))
        && hybrid__chat_prepare(&j, &list);
    if (ok) system = hybrid__chat_system(&j, list);
    ok = ok && (!merge || hybrid__chat_merge(&j, list.u.list, system, &list)) && hybrid__chat_context(&j, desc, list, docs);
    result = ok ? hybrid__render_page(&j, out) : j.result;
    *lost = false;
    if (ok && system && !merge) {
        const char *p = system->p, *end = p + system->n, *line;
        hybrid__jtrim(&p, &end, true, true);
        for (line = p; line < end && *line != '\n'; line++) {}    /* the first line: templates may indent or escape the others */
        *lost = result == HYBRID_ERROR_INVALID || (!result && line > p && hybrid__jfind(out->data, out->size, p, (size_t)(line - p), 0) == SIZE_MAX);
    }
    hybrid__jarena_free(&j.arena);
    for (i = 0; i < HYBRID__CHAT_DOCS; i++) hybrid__json_free(&docs[i]);
    return result;
}

HYBRID__BORDER(hybrid_result, hybrid_chat_render, (const hybrid_template *tmpl, const hybrid_chat_message *messages,
              size_t n,
    const hybrid_chat_desc *desc, hybrid_text *out, hybrid_error *error),
              (tmpl, messages, n, desc, out, error))
{
    static const hybrid_chat_desc zero = { false, false, NULL, NULL, NULL, NULL, NULL, 0, 0, { 0, 0, 0, 0 }, NULL, NULL, NULL, NULL, NULL };
    hybrid_result result;
    bool lost;
    size_t i;
    if (!out) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: out is NULL");
    hybrid__text_empty(out);
    if (!tmpl)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "this model has no chat template (a base model): let it continue text, or make a template "
                            "(hybrid_template_create(NULL, NULL, ...) gives that of ChatML); hybrid_chat_render: tmpl is NULL");
    if (!desc) desc = &zero;
    if (n && !messages && !desc->messages) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: messages is NULL");
    for (i = 0; !desc->messages && i < n; i++)
        if (!messages[i].role) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_chat_render: message %lu has no role", (unsigned long)i);
    result = hybrid__chat_attempt(tmpl, messages, n, desc, false, out, &lost, error);
    if (!lost || !desc->merge_system) return result;
    hybrid__text_empty(out);
    return hybrid__chat_attempt(tmpl, messages, n, desc, true, out, &lost, error);
}
