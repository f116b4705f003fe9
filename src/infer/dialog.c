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

static const char *hybrid__message_role(int role) { return role == HYBRID__ROLE_SYSTEM ? "system" : role == HYBRID__ROLE_USER ? "user" : "assistant"; }

/* Without a template: what a model that only continues text understands best. */
static hybrid_result hybrid__dialog_plain(const hybrid__dialog *d, char **text, size_t *size, hybrid_error *error)
{
    static const char *const heads[] = { "", "User: ", "Assistant: " }, end[] = "Assistant:";
    size_t i, n = sizeof end;
    char *p;
    for (i = 0; i < d->n; i++) n += strlen(heads[d->messages[i].role]) + strlen(d->messages[i].text) + 2;
    if (!(p = *text = (char *)hybrid__alloc(d->rt, n))) return hybrid__fail_memory(error, n);
    for (i = 0; i < d->n; i++) {
        const char *head = heads[d->messages[i].role], *body = d->messages[i].text;
        memcpy(p, head, strlen(head)); p += strlen(head);
        memcpy(p, body, strlen(body)); p += strlen(body);
        *p++ = '\n';
        if (d->messages[i].role == HYBRID__ROLE_SYSTEM) *p++ = '\n';
    }
    memcpy(p, end, sizeof end);
    *size = (size_t)(p - *text) + sizeof end - 1;
    return HYBRID_OK;
}
