/* infer/prompt: token ids of a conversation, in the model's own template, or of plain text. */
#ifndef HYB_INFER_PROMPT_C
#define HYB_INFER_PROMPT_C
#include "../api/stream.h"
#include "../core/grow.c"
#include "../model/model.c"
#include "../text/template.c"

/* ---- ids that are handed out ------------------------------------------------------------------------------------ */

HYB_BORDER_VOID(hybrid_ids_free, (hybrid_ids * ids), (ids))
{
    if (!ids) return;
    if (ids->runtime) {
        hyb_free(ids->runtime, ids->data);
        hyb_runtime_release(ids->runtime);
    }
    memset(ids, 0, sizeof *ids);
}

/* Room for n ids; what is there is kept. */
static hybrid_result hyb_ids_room(hybrid_runtime *rt, hybrid_ids *ids, size_t n, hybrid_error *error)
{
    hybrid_result r;
    if (ids->runtime && ids->runtime != rt) hybrid_ids_free(ids);
    if ((r = HYB_GROW(rt, ids->data, ids->capacity, ids->n, n, error)) != HYBRID_OK || ids->runtime || !ids->data)
        return r;
    ids->runtime = rt;
    hyb_atomic_add(&rt->references, 1);
    return HYBRID_OK;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* The name of a special token, zero-terminated, or NULL. */
static const char *hyb_special_name(const hybrid_tokenizer *tok, hybrid_token_role role, char buffer[64])
{
    const hybrid_string s = hybrid_token_bytes(tok, hybrid_token_role_id(tok, role));
    if (!s.size || s.size > 63) return NULL;
    memcpy(buffer, s.data, s.size);
    buffer[s.size] = 0;
    return buffer;
}

static bool hyb_text_add(hybrid_runtime *rt, hybrid_text *out, const char *text, hybrid_error *error)
{
    const size_t size = strlen(text);
    if (HYB_GROW(rt, out->data, out->capacity, out->size, out->size + size + 1, error)) return false;
    if (!out->runtime) {
        out->runtime = rt;
        hyb_atomic_add(&rt->references, 1);
    }
    memcpy(out->data + out->size, text, size + 1);
    out->size += size;
    return true;
}

static const char *hyb_plain_head(const char *role)
{
    static const char *const heads[][2] = {
        { "system", "" }, { "user", "User: " }, { "assistant", "Assistant: " }, { "tool", "Tool: " }
    };
    size_t i;
    for (i = 0; role && i < HYB_COUNT(heads); i++)
        if (!strcmp(heads[i][0], role)) return heads[i][1];
    return NULL;
}

/* Without a template, the form that a model which only continues text understands best. out: empty. */
static hybrid_result hyb_prompt_plain(hybrid_runtime *rt, const hybrid_prompt_desc *d, hybrid_text *out,
                                      hybrid_error *error)
{
    size_t i;
    for (i = 0; i < d->n_messages; i++) {
        const hybrid_chat_message *m = &d->messages[i];
        const char *head = hyb_plain_head(m->role);
        if (!head)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "message %llu has the role '%.40s': the model has no template, so that roles are system, "
                            "user, assistant and tool",
                            (unsigned long long)i, m->role ? m->role : "");
        if (!hyb_text_add(rt, out, head, error) || !hyb_text_add(rt, out, m->content ? m->content : "", error) ||
            !hyb_text_add(rt, out, *head ? "\n" : "\n\n", error))
            return HYBRID_ERROR_MEMORY;
    }
    if (!d->no_answer && !hyb_text_add(rt, out, "Assistant:", error)) return HYBRID_ERROR_MEMORY;
    if (d->no_answer || !d->answer || !*d->answer || strchr(" \n", *d->answer)) return HYBRID_OK;
    return hyb_text_add(rt, out, " ", error) ? HYBRID_OK : HYBRID_ERROR_MEMORY;
}

/* The prompt as text, without what begins the answer. out is empty before, and freed by the caller. */
static hybrid_result hyb_prompt_messages(const hybrid_model *model, const hybrid_prompt_desc *d, hybrid_text *out,
                                         hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(model);
    const hybrid_template *tmpl = hybrid_model_template(model);
    hybrid_chat_desc desc;
    char bos[64], eos[64], unk[64], sep[64], pad[64], mask[64];
    if (!tmpl) return hyb_prompt_plain(model->rt, d, out, error);
    memset(&desc, 0, sizeof desc);
    desc.merge_system = true;
    desc.add_generation_prompt = !d->no_answer;
    desc.tools = d->tools;
    desc.extra = d->variables;
    desc.now = d->now;
    desc.utc_offset = d->utc_offset;
    desc.limits = d->limits;
    desc.bos_token = hyb_special_name(tok, HYBRID_ROLE_BOS, bos);
    desc.eos_token = hyb_special_name(tok, HYBRID_ROLE_EOS, eos);
    desc.unk_token = hyb_special_name(tok, HYBRID_ROLE_UNKNOWN, unk);
    desc.sep_token = hyb_special_name(tok, HYBRID_ROLE_SEPARATOR, sep);
    desc.pad_token = hyb_special_name(tok, HYBRID_ROLE_PADDING, pad);
    desc.mask_token = hyb_special_name(tok, HYBRID_ROLE_MASK, mask);
    return hybrid_chat_render(tmpl, d->messages, d->n_messages, &desc, out, error);
}

/* ---- ids -------------------------------------------------------------------------------------------------------- */

/* The tokens of a text, after `ids`, which has room for one more afterwards. flags with PARSE_SPECIAL: control tokens
 * may stand everywhere; else in the words of the template only. */
static hybrid_result hyb_prompt_tokenize(const hybrid_model *model, const hybrid_text *text, unsigned flags,
                                         hybrid_ids *ids, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(model);
    const char *p = text->data ? text->data : "";
    const bool all = (flags & HYBRID_TOKENIZE_PARSE_SPECIAL) != 0;
    hybrid_result r = HYBRID_OK;
    size_t n = 0;
    int pass;
    for (pass = 0; pass < 2; pass++) { /* how many, then which */
        int32_t *to = pass ? ids->data + ids->n : NULL;
        const size_t room = n;
        r = all ? hybrid_tokenize(tok, p, text->size, flags, to, room, &n, error)
                : hybrid_tokenize_spans(tok, p, text->size, text->own, text->n_own, flags, to, room, &n, error);
        if (r && (pass || r != HYBRID_ERROR_LIMIT)) return r;
        if (!pass && (r = hyb_ids_room(model->rt, ids, ids->n + n + 1, error)) != HYBRID_OK) return r;
    }
    ids->n += n;
    return HYBRID_OK;
}

/* BOS included where the model wants one and the template has none. */
static hybrid_result hyb_prompt_dialog(const hybrid_model *model, const hybrid_prompt_desc *d, hybrid_ids *ids,
                                       hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(model);
    const int32_t bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    hybrid_text text;
    hybrid_result r;
    memset(&text, 0, sizeof text);
    r = hyb_prompt_messages(model, d, &text, error);
    if (!r && d->answer && !d->no_answer && !hyb_text_add(model->rt, &text, d->answer, error)) r = HYBRID_ERROR_MEMORY;
    if (!r) r = hyb_prompt_tokenize(model, &text, d->parse_special ? HYBRID_TOKENIZE_PARSE_SPECIAL : 0, ids, error);
    hybrid_text_free(&text);
    if (!r && hybrid_tokenizer_adds_bos(tok) && bos >= 0 && (!ids->n || ids->data[0] != bos)) {
        if (ids->n) memmove(ids->data + 1, ids->data, ids->n * sizeof *ids->data);
        ids->data[0] = bos;
        ids->n++;
    }
    return r;
}

/* Plain text, which goes on: it has no end. */
static hybrid_result hyb_prompt_text(const hybrid_model *model, const hybrid_prompt_desc *d, hybrid_ids *ids,
                                     hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(model);
    const int32_t bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    const unsigned flags = HYBRID_TOKENIZE_PARSE_SPECIAL | (d->follows ? 0u : HYBRID_TOKENIZE_ADD_SPECIAL);
    hybrid_text text;
    hybrid_result r;
    memset(&text, 0, sizeof text);
    r = hyb_text_add(model->rt, &text, d->text, error) ? hyb_prompt_tokenize(model, &text, flags, ids, error)
                                                       : HYBRID_ERROR_MEMORY;
    hybrid_text_free(&text);
    if (r || d->follows) return r;
    if (ids->n > 1 && hybrid_tokenizer_adds_eos(tok)) ids->n--;
    if (!ids->n && bos >= 0) ids->data[ids->n++] = bos;
    if (ids->n) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "the prompt is empty, and this model has no token to begin with: give it some text");
}

HYB_BORDER(hybrid_result, hybrid_prompt,
           (const hybrid_model *model, const hybrid_prompt_desc *desc, hybrid_ids *ids, hybrid_error *error),
           (model, desc, ids, error))
{
    hybrid_result r;
    if (ids) ids->n = 0;
    if (!model || !desc || !ids)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_prompt: %s is NULL",
                        !model  ? "model"
                        : !desc ? "desc"
                                : "ids");
    if (desc->n_messages && !desc->messages)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_prompt: n_messages is %llu, but messages is NULL",
                        (unsigned long long)desc->n_messages);
    if (desc->text && desc->n_messages)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_prompt: give either messages or text, not both");
    r = desc->text ? hyb_prompt_text(model, desc, ids, error) : hyb_prompt_dialog(model, desc, ids, error);
    if (r) ids->n = 0;
    return r;
}
#endif
