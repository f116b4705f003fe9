/* infer/dialog: the messages of a conversation, and a turn of it that may yet be refused. */
#ifndef HYB_INFER_DIALOG_C
#define HYB_INFER_DIALOG_C
#include "../core/grow.c"
#include "prompt.c"

enum { HYB_ROLE_SYSTEM, HYB_ROLE_USER, HYB_ROLE_ASSISTANT, HYB_ROLE_TOOL, HYB_ROLES };

typedef struct hyb_message {
    int role;
    int from;   /* of a turn: the message of the dialog that it is, or the fresh text; see hyb_turn */
    char *text; /* zero-terminated, own */
} hyb_message;

typedef struct hyb_dialog {
    hybrid_runtime *rt;
    hyb_message *messages;
    size_t n, capacity;
} hyb_dialog;

static const char *hyb_role_text(int role)
{
    static const char *const names[] = { "system", "user", "assistant", "tool" };
    return names[role];
}

/* HYB_ROLES: there is no such role. */
static int hyb_role_of(const char *name)
{
    int role = 0;
    while (role < HYB_ROLES && (!name || strcmp(name, hyb_role_text(role)))) role++;
    return role;
}

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
    m.from = 0;
    if (!(m.text = (char *)hyb_alloc(d->rt, size + 1))) return hyb_fail_memory(error, size + 1);
    memcpy(m.text, text, size);
    m.text[size] = 0;
    d->messages[d->n++] = m;
    return HYBRID_OK;
}

/* A turn that may yet be refused. The view holds the messages as they would then be, and nothing of the dialog is
 * touched before the turn is taken. Texts belong to the dialog (from: their number there), except the fresh ones (from:
 * -1 and -2). */
typedef struct hyb_turn {
    hyb_dialog view;
    hyb_message *list; /* the view's block: view.messages lies in it */
    char *fresh[2];
    int n_fresh;
    size_t n_dropped; /* messages left out after the system prompt */
} hyb_turn;

static void hyb_turn_drop(hyb_turn *t)
{
    hybrid_runtime *rt = t->view.rt;
    hyb_free(rt, t->fresh[0]);
    hyb_free(rt, t->fresh[1]);
    hyb_free(rt, t->list);
    memset(t, 0, sizeof *t);
}

/* A copy of a text for message i of the view: one that is there, or one more. */
static hybrid_result hyb_turn_set(hyb_turn *t, size_t i, int role, const char *text, size_t size, hybrid_error *error)
{
    hyb_message *m = &t->view.messages[i];
    char *copy = (char *)hyb_alloc(t->view.rt, size + 1);
    if (!copy) return hyb_fail_memory(error, size + 1);
    if (size) memcpy(copy, text, size);
    copy[size] = 0;
    t->fresh[t->n_fresh++] = copy;
    m->role = role;
    m->from = -t->n_fresh;
    m->text = copy;
    t->view.n = HYB_MAX(t->view.n, i + 1);
    return HYBRID_OK;
}

/* The dialog, then the answer (answer_size bytes) unless it is NULL; there is room for one message more. Ends with
 * hyb_turn_take or hyb_turn_drop; on failure there is nothing to end. */
static hybrid_result hyb_turn_begin(hyb_turn *t, const hyb_dialog *d, const char *answer, size_t answer_size,
                                    hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    memset(t, 0, sizeof *t);
    t->view.rt = d->rt;
    t->view.capacity = HYB_MAX(8, d->n + d->n / 2 + 2);
    if (!(t->list = (hyb_message *)hyb_calloc(d->rt, t->view.capacity, sizeof *t->list)))
        return hyb_fail_memory(error, t->view.capacity * sizeof *t->list);
    t->view.messages = t->list;
    t->view.n = d->n;
    for (i = 0; i < d->n; i++) {
        t->list[i] = d->messages[i];
        t->list[i].from = (int)i;
    }
    if (answer) r = hyb_turn_set(t, d->n, HYB_ROLE_ASSISTANT, answer, answer_size, error);
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
    } while (v->n > first + 1 && v->messages[first].role >= HYB_ROLE_ASSISTANT);
    return true;
}

/* The dialog becomes what the view shows. Cannot fail. */
static void hyb_turn_take(hyb_turn *t, hyb_dialog *d)
{
    bool kept[2] = { false, false };
    size_t i;
    for (i = 0; i < d->n; i++) d->messages[i].from = 0;
    for (i = 0; i < t->view.n; i++) {
        const int from = t->view.messages[i].from;
        if (from < 0)
            kept[-1 - from] = true;
        else
            d->messages[from].from = 1;
    }
    for (i = 0; i < d->n; i++)
        if (!d->messages[i].from) hyb_free(d->rt, d->messages[i].text);
    for (i = 0; i < 2; i++)
        if (!kept[i]) hyb_free(d->rt, t->fresh[i]);
    hyb_free(d->rt, d->messages);
    memmove(t->list, t->view.messages, t->view.n * sizeof *t->list);
    d->messages = t->list;
    d->n = t->view.n;
    d->capacity = t->view.capacity;
    memset(t, 0, sizeof *t);
}

/* The token ids of a dialog; of d only what is beside its messages is read. */
static hybrid_result hyb_dialog_ids(const hyb_dialog *dialog, const hybrid_model *model, const hybrid_prompt_desc *d,
                                    hybrid_ids *ids, hybrid_error *error)
{
    hybrid_prompt_desc desc = *d;
    hybrid_chat_message *list = (hybrid_chat_message *)hyb_calloc(dialog->rt, dialog->n, sizeof *list);
    hybrid_result r;
    size_t i;
    if (!list) return hyb_fail_memory(error, dialog->n * sizeof *list);
    for (i = 0; i < dialog->n; i++) {
        list[i].role = hyb_role_text(dialog->messages[i].role);
        list[i].content = dialog->messages[i].text;
    }
    desc.messages = list;
    desc.n_messages = dialog->n;
    r = hybrid_prompt(model, &desc, ids, error);
    hyb_free(dialog->rt, list);
    return r;
}
#endif
