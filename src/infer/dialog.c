/* infer/dialog: the messages of a conversation, and the prompt that they make. */
#ifndef HYB_INFER_DIALOG_C
#define HYB_INFER_DIALOG_C
#include "../api/model.h"
#include "../core/grow.c"
#include "../text/template.c"

enum { HYB_ROLE_SYSTEM, HYB_ROLE_USER, HYB_ROLE_ASSISTANT };

typedef struct hyb_message {
    int role;
    char *text; /* zero-terminated, own */
} hyb_message;

typedef struct hyb_dialog {
    hybrid_runtime *rt;
    hyb_message *messages;
    size_t n, capacity;
} hyb_dialog;

static void hyb_dialog_drop(hyb_dialog *d, size_t i)
{
    hyb_free(d->rt, d->messages[i].text);
    memmove(d->messages + i, d->messages + i + 1, (d->n - i - 1) * sizeof *d->messages);
    d->n--;
}

static void hyb_dialog_free(hyb_dialog *d)
{
    while (d->n) hyb_dialog_drop(d, d->n - 1);
    hyb_free(d->rt, d->messages);
}

static hybrid_result hyb_dialog_add(hyb_dialog *d, int role, const char *text, size_t size, hybrid_error *error)
{
    hyb_message m;
    const hybrid_result r = HYB_GROW(d->rt, d->messages, d->capacity, d->n, d->n + 1, error);
    if (r) return r;
    m.role = role;
    if (!(m.text = (char *)hyb_alloc(d->rt, size + 1))) return hyb_fail_memory(error, size + 1);
    memcpy(m.text, text, size);
    m.text[size] = 0;
    d->messages[d->n++] = m;
    return HYBRID_OK;
}

/* A turn that may yet be refused. The view holds the messages as they would then be, and nothing of the dialog is
 * touched before the turn is taken. Texts belong to the dialog, except the two new ones. */
typedef struct hyb_turn {
    hyb_dialog view;
    hyb_message *list;   /* the view's block: view.messages == list + n_dropped */
    char *answer, *said; /* own copies; NULL: there is none */
    size_t n_dropped;    /* messages left out after the system prompt */
} hyb_turn;

static void hyb_turn_drop(hyb_turn *t)
{
    hybrid_runtime *rt = t->view.rt;
    hyb_free(rt, t->answer);
    hyb_free(rt, t->said);
    hyb_free(rt, t->list);
    memset(t, 0, sizeof *t);
}

/* A copy of a text becomes the last message of the view. */
static hybrid_result hyb_turn_add(hyb_turn *t, int role, const char *text, size_t size, char **copy,
                                  hybrid_error *error)
{
    hyb_message *m = &t->view.messages[t->view.n];
    if (!(*copy = (char *)hyb_alloc(t->view.rt, size + 1))) return hyb_fail_memory(error, size + 1);
    if (size) memcpy(*copy, text, size);
    (*copy)[size] = 0;
    m->role = role;
    m->text = *copy;
    t->view.n++;
    return HYBRID_OK;
}

/* The dialog, then the answer (answer_size bytes) and what the user says, each unless it is NULL. Ends with
 * hyb_turn_take or hyb_turn_drop; on failure there is nothing to end. */
static hybrid_result hyb_turn_begin(hyb_turn *t, const hyb_dialog *d, const char *answer, size_t answer_size,
                                    const char *said, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    memset(t, 0, sizeof *t);
    t->view.rt = d->rt;
    t->view.capacity = HYB_MAX(8, d->n + d->n / 2 + 2);
    if (!(t->list = (hyb_message *)hyb_calloc(d->rt, t->view.capacity, sizeof *t->list)))
        return hyb_fail_memory(error, t->view.capacity * sizeof *t->list);
    t->view.messages = t->list;
    t->view.n = d->n;
    if (d->n) memcpy(t->list, d->messages, d->n * sizeof *t->list);
    if (answer) r = hyb_turn_add(t, HYB_ROLE_ASSISTANT, answer, answer_size, &t->answer, error);
    if (!r && said) r = hyb_turn_add(t, HYB_ROLE_USER, said, strlen(said), &t->said, error);
    if (r) hyb_turn_drop(t);
    return r;
}

/* Leaves the oldest message after the system prompt, and its answer, out of the view. False: only the last message is
 * left. */
static bool hyb_turn_forget(hyb_turn *t)
{
    hyb_dialog *v = &t->view;
    const size_t first = v->n && v->messages[0].role == HYB_ROLE_SYSTEM;
    if (v->n < first + 2) return false;
    do {
        if (first) v->messages[1] = v->messages[0];
        v->messages++;
        v->n--;
        t->n_dropped++;
    } while (v->n > first + 1 && v->messages[first].role == HYB_ROLE_ASSISTANT);
    return true;
}

/* The dialog becomes what the view shows. Cannot fail. */
static void hyb_turn_take(hyb_turn *t, hyb_dialog *d)
{
    const size_t first = d->n && d->messages[0].role == HYB_ROLE_SYSTEM;
    size_t i;
    for (i = first; i < first + t->n_dropped; i++) hyb_free(d->rt, i < d->n ? d->messages[i].text : t->answer);
    hyb_free(d->rt, d->messages);
    memmove(t->list, t->view.messages, t->view.n * sizeof *t->list);
    d->messages = t->list;
    d->n = t->view.n;
    d->capacity = t->view.capacity;
    memset(t, 0, sizeof *t);
}

/* Without a template, the form that a model which only continues text understands best. */
static hybrid_result hyb_dialog_plain(const hyb_dialog *d, hybrid_text *out, hybrid_error *error)
{
    static const char *const heads[] = { "", "User: ", "Assistant: " }, end[] = "Assistant:";
    size_t i, n = sizeof end;
    hybrid_result r;
    char *text, *p;
    for (i = 0; i < d->n; i++) n += strlen(heads[d->messages[i].role]) + strlen(d->messages[i].text) + 2;
    if (!(text = p = (char *)hyb_alloc(d->rt, n))) return hyb_fail_memory(error, n);
    for (i = 0; i < d->n; i++) {
        const char *head = heads[d->messages[i].role], *body = d->messages[i].text;
        memcpy(p, head, strlen(head));
        p += strlen(head);
        memcpy(p, body, strlen(body));
        p += strlen(body);
        *p++ = '\n';
        if (d->messages[i].role == HYB_ROLE_SYSTEM) *p++ = '\n';
    }
    memcpy(p, end, sizeof end - 1);
    p += sizeof end - 1;
    r = hyb_text_set(d->rt, out, text, (size_t)(p - text), error);
    hyb_free(d->rt, text);
    return r;
}

/* The name of a special token, zero-terminated, or NULL. */
static const char *hyb_special_name(const hybrid_tokenizer *tok, hybrid_token_role role, char buffer[64])
{
    const hybrid_string s = hybrid_token_bytes(tok, hybrid_token_role_id(tok, role));
    if (!s.size || s.size > 63) return NULL;
    memcpy(buffer, s.data, s.size);
    buffer[s.size] = 0;
    return buffer;
}

/* The prompt of the whole dialog; out is empty before, and freed by the caller. */
static hybrid_result hyb_dialog_render(const hyb_dialog *d, const hybrid_model *model, hybrid_text *out,
                                       hybrid_error *error)
{
    static const char *const roles[] = { "system", "user", "assistant" };
    const hybrid_template *tmpl = hybrid_model_template(model);
    hybrid_chat_message *list;
    hybrid_chat_desc desc;
    hybrid_result r;
    char bos[64], eos[64], unk[64], sep[64], pad[64], mask[64];
    size_t i;
    if (!tmpl) return hyb_dialog_plain(d, out, error);
    if (!(list = (hybrid_chat_message *)hyb_calloc(d->rt, d->n, sizeof *list)))
        return hyb_fail_memory(error, d->n * sizeof *list);
    for (i = 0; i < d->n; i++) {
        list[i].role = roles[d->messages[i].role];
        list[i].content = d->messages[i].text;
    }
    memset(&desc, 0, sizeof desc);
    desc.add_generation_prompt = desc.merge_system = true;
    desc.bos_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_BOS, bos);
    desc.eos_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_EOS, eos);
    desc.unk_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_UNKNOWN, unk);
    desc.sep_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_SEPARATOR, sep);
    desc.pad_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_PADDING, pad);
    desc.mask_token = hyb_special_name(hybrid_model_tokenizer(model), HYBRID_ROLE_MASK, mask);
    r = hybrid_chat_render(tmpl, list, d->n, &desc, out, error);
    hyb_free(d->rt, list);
    return r;
}
#endif
