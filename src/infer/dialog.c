/* infer/dialog: the messages of a conversation, and the prompt that they make. */

enum { HYBRID__ROLE_SYSTEM, HYBRID__ROLE_USER, HYBRID__ROLE_ASSISTANT };

typedef struct hybrid__message {
    int   role;
    char *text;                            /* zero-terminated, own */
} hybrid__message;

typedef struct hybrid__dialog {
    hybrid_runtime  *rt;
    hybrid__message *messages;
    size_t           n, capacity;
} hybrid__dialog;

static void hybrid__dialog_drop(hybrid__dialog *d, size_t i)
{
    hybrid__free(d->rt, d->messages[i].text);
    memmove(d->messages + i, d->messages + i + 1, (d->n - i - 1) * sizeof *d->messages);
    d->n--;
}

static void hybrid__dialog_free(hybrid__dialog *d)
{
    while (d->n) hybrid__dialog_drop(d, d->n - 1);
    hybrid__free(d->rt, d->messages);
}

static hybrid_result hybrid__dialog_add(hybrid__dialog *d, int role, const char *text, size_t size, hybrid_error *error)
{
    hybrid__message m;
    if (d->n == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 8;
        hybrid__message *grown = (hybrid__message *)hybrid__realloc(d->rt, d->messages, d->n * sizeof *grown, capacity * sizeof *grown);
        if (!grown) return hybrid__fail_memory(error, capacity * sizeof *grown);
        d->messages = grown;
        d->capacity = capacity;
    }
    m.role = role;
    if (!(m.text = (char *)hybrid__alloc(d->rt, size + 1))) return hybrid__fail_memory(error, size + 1);
    memcpy(m.text, text, size);
    m.text[size] = 0;
    d->messages[d->n++] = m;
    return HYBRID_OK;
}

/* Drops the oldest message that is not the system prompt, and its answer. False: only the last message is left. */
static bool hybrid__dialog_forget(hybrid__dialog *d, int32_t *n_forgotten)
{
    size_t first = d->n && d->messages[0].role == HYBRID__ROLE_SYSTEM;
    if (d->n < first + 2) return false;
    do {
        hybrid__dialog_drop(d, first);
        ++*n_forgotten;
    } while (d->n > first + 1 && d->messages[first].role == HYBRID__ROLE_ASSISTANT);
    return true;
}

/* Without a template: what a model that only continues text understands best. */
static hybrid_result hybrid__dialog_plain(const hybrid__dialog *d, hybrid_text *out, hybrid_error *error)
{
    static const char *const heads[] = { "", "User: ", "Assistant: " }, end[] = "Assistant:";
    size_t i, n = sizeof end;
    hybrid_result r;
    char *text, *p;
    for (i = 0; i < d->n; i++) n += strlen(heads[d->messages[i].role]) + strlen(d->messages[i].text) + 2;
    if (!(text = p = (char *)hybrid__alloc(d->rt, n))) return hybrid__fail_memory(error, n);
    for (i = 0; i < d->n; i++) {
        const char *head = heads[d->messages[i].role], *body = d->messages[i].text;
        memcpy(p, head, strlen(head)); p += strlen(head);
        memcpy(p, body, strlen(body)); p += strlen(body);
        *p++ = '\n';
        if (d->messages[i].role == HYBRID__ROLE_SYSTEM) *p++ = '\n';
    }
    memcpy(p, end, sizeof end - 1); p += sizeof end - 1;
    r = hybrid__text_set(d->rt, out, text, (size_t)(p - text), error);
    hybrid__free(d->rt, text);
    return r;
}

/* The name of a special token, zero-terminated, or NULL. */
static const char *hybrid__special_name(const hybrid_tokenizer *tok, hybrid_token_role role, char buffer[64])
{
    const hybrid_string s = hybrid_token_bytes(tok, hybrid_token_role_id(tok, role));
    if (!s.size || s.size > 63) return NULL;
    memcpy(buffer, s.data, s.size);
    buffer[s.size] = 0;
    return buffer;
}

/* The prompt of the whole dialog; out is empty before, and freed by the caller. */
static hybrid_result hybrid__dialog_render(const hybrid__dialog *d, const hybrid_model *model, hybrid_text *out, hybrid_error *error)
{
    static const char *const roles[] = { "system", "user", "assistant" };
    const hybrid_template *tmpl = hybrid_model_template(model);
    hybrid_chat_message *list;
    hybrid_chat_desc desc;
    hybrid_result r;
    char bos[64], eos[64];
    size_t i;
    if (!tmpl) return hybrid__dialog_plain(d, out, error);
    if (!(list = (hybrid_chat_message *)hybrid__calloc(d->rt, d->n, sizeof *list))) return hybrid__fail_memory(error, d->n * sizeof *list);
    for (i = 0; i < d->n; i++) {
        list[i].role = roles[d->messages[i].role];
        list[i].content = d->messages[i].text;
    }
    memset(&desc, 0, sizeof desc);
    desc.add_generation_prompt = desc.merge_system = true;
    desc.bos_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_BOS, bos);
    desc.eos_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_EOS, eos);
    r = hybrid_chat_render(tmpl, list, d->n, &desc, out, error);
    hybrid__free(d->rt, list);
    return r;
}
