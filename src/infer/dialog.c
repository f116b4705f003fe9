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

/* A turn that may yet be refused. The view holds the messages as they would then be, and nothing of the dialog is touched before the turn is
 * taken. Texts belong to the dialog, but for the two new ones. */
typedef struct hybrid__turn {
    hybrid__dialog   view;
    hybrid__message *list;                 /* the view's block: view.messages == list + n_dropped */
    char            *answer, *said;        /* own copies; NULL: there is none */
    size_t           n_dropped;            /* messages left out behind the system prompt */
} hybrid__turn;

static void hybrid__turn_drop(hybrid__turn *t)
{
    hybrid_runtime *rt = t->view.rt;
    hybrid__free(rt, t->answer);
    hybrid__free(rt, t->said);
    hybrid__free(rt, t->list);
    memset(t, 0, sizeof *t);
}

/* A copy of a text becomes the last message of the view. */
static hybrid_result hybrid__turn_add(hybrid__turn *t, int role, const char *text, size_t size, char **copy, hybrid_error *error)
{
    hybrid__message *m = &t->view.messages[t->view.n];
    if (!(*copy = (char *)hybrid__alloc(t->view.rt, size + 1))) return hybrid__fail_memory(error, size + 1);
    if (size) memcpy(*copy, text, size);
    (*copy)[size] = 0;
    m->role = role;
    m->text = *copy;
    t->view.n++;
    return HYBRID_OK;
}

/* The dialog, then the answer (answer_size bytes) and what the user says, each unless it is NULL. Ends with hybrid__turn_take or
 * hybrid__turn_drop; on failure there is nothing to end. */
static hybrid_result hybrid__turn_begin(hybrid__turn *t, const hybrid__dialog *d, const char *answer, size_t answer_size, const char *said, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    memset(t, 0, sizeof *t);
    t->view.rt = d->rt;
    t->view.capacity = HYBRID__MAX(8, d->n + d->n / 2 + 2);
    if (!(t->list = (hybrid__message *)hybrid__calloc(d->rt, t->view.capacity, sizeof *t->list)))
        return hybrid__fail_memory(error, t->view.capacity * sizeof *t->list);
    t->view.messages = t->list;
    t->view.n = d->n;
    if (d->n) memcpy(t->list, d->messages, d->n * sizeof *t->list);
    if (answer) r = hybrid__turn_add(t, HYBRID__ROLE_ASSISTANT, answer, answer_size, &t->answer, error);
    if (!r && said) r = hybrid__turn_add(t, HYBRID__ROLE_USER, said, strlen(said), &t->said, error);
    if (r) hybrid__turn_drop(t);
    return r;
}

/* Leaves the oldest message that is not the system prompt out of the view, and its answer. False: only the last message is left. */
static bool hybrid__turn_forget(hybrid__turn *t)
{
    hybrid__dialog *v = &t->view;
    const size_t first = v->n && v->messages[0].role == HYBRID__ROLE_SYSTEM;
    if (v->n < first + 2) return false;
    do {
        if (first) v->messages[1] = v->messages[0];
        v->messages++;
        v->n--;
        t->n_dropped++;
    } while (v->n > first + 1 && v->messages[first].role == HYBRID__ROLE_ASSISTANT);
    return true;
}

/* The dialog becomes what the view shows. Cannot fail. */
static void hybrid__turn_take(hybrid__turn *t, hybrid__dialog *d)
{
    const size_t first = d->n && d->messages[0].role == HYBRID__ROLE_SYSTEM;
    size_t i;
    for (i = first; i < first + t->n_dropped; i++) hybrid__free(d->rt, i < d->n ? d->messages[i].text : t->answer);
    hybrid__free(d->rt, d->messages);
    memmove(t->list, t->view.messages, t->view.n * sizeof *t->list);
    d->messages = t->list;
    d->n = t->view.n;
    d->capacity = t->view.capacity;
    memset(t, 0, sizeof *t);
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
    char bos[64], eos[64], unk[64], sep[64], pad[64], mask[64];
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
    desc.unk_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_UNKNOWN, unk);
    desc.sep_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_SEPARATOR, sep);
    desc.pad_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_PADDING, pad);
    desc.mask_token = hybrid__special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_MASK, mask);
    r = hybrid_chat_render(tmpl, list, d->n, &desc, out, error);
    hybrid__free(d->rt, list);
    return r;
}
