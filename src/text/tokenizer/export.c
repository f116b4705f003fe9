/* text/tokenizer/export: a tokenizer as others read it: the keys of a GGUF file, GPT-2's merges.txt and vocab.json. */
#ifndef HYB_TEXT_TOKENIZER_EXPORT_C
#define HYB_TEXT_TOKENIZER_EXPORT_C
#include "../../core/json.c"
#include "../../gguf/write.c"
#include "gguf.c"

/* How bytes are written as characters (hyb_byte_spelling), in UTF-8. */
typedef struct hyb_speller {
    char text[256][2];
    uint8_t size[256];
} hyb_speller;

static void hyb_speller_make(hyb_speller *s)
{
    int16_t to_byte[324];
    char utf8[4];
    uint32_t c;
    hyb_byte_spelling(to_byte);
    for (c = 0; c < 324; c++) {
        if (to_byte[c] < 0) continue;
        s->size[to_byte[c]] = (uint8_t)hyb_utf8_write(c, utf8);
        memcpy(s->text[to_byte[c]], utf8, 2);
    }
}

static size_t hyb_spelled_size(const hyb_speller *s, const uint8_t *p, size_t n)
{
    size_t i, size = 0;
    for (i = 0; i < n; i++) size += s->size[p[i]];
    return size;
}

/* Returns what lies after the characters that were written. */
static char *hyb_spell(const hyb_speller *s, const uint8_t *p, size_t n, char *out)
{
    size_t i;
    for (i = 0; i < n; i++) {
        out[0] = s->text[p[i]][0];
        if (s->size[p[i]] == 2) out[1] = s->text[p[i]][1];
        out += s->size[p[i]];
    }
    return out;
}

typedef struct hyb_export {
    const hybrid_tokenizer *t;
    hyb_speller speller;
    hybrid_string *tokens; /* n_tokens, then n_merges; one block with their text */
    hybrid_string *merges; /* "left right" */
    int32_t *types;
    uint32_t *order; /* of the merges: their places in the table, by rank; UINT32_MAX: none has it */
    size_t n_ranks, n_merges, text;
} hyb_export;

static void hyb_export_free(hyb_export *e)
{
    hyb_free(e->t->rt, e->tokens);
    hyb_free(e->t->rt, e->types);
    hyb_free(e->t->rt, e->order);
}

/* Whether a token's text is spelled, not written as it is. */
HYB_INLINE bool hyb_export_spelled(const hybrid_tokenizer *t, size_t id)
{
    return (t->kinds[id] & (HYB_TOKEN_TYPE | HYB_TOKEN_FOREIGN)) == HYBRID_TOKEN_NORMAL;
}

static size_t hyb_export_size(const hyb_export *e, size_t id)
{
    const uint32_t at = e->t->offsets[id], size = e->t->offsets[id + 1] - at;
    return hyb_export_spelled(e->t, id) ? hyb_spelled_size(&e->speller, e->t->bytes + at, size) : size;
}

static char *hyb_export_token(const hyb_export *e, size_t id, char *out)
{
    const uint32_t at = e->t->offsets[id], size = e->t->offsets[id + 1] - at;
    if (hyb_export_spelled(e->t, id)) return hyb_spell(&e->speller, e->t->bytes + at, size, out);
    memcpy(out, e->t->bytes + at, size);
    return out + size;
}

/* The merges by rank, and how much text all is. false: no memory. */
static bool hyb_export_order(hyb_export *e)
{
    const hybrid_tokenizer *t = e->t;
    size_t i;
    for (i = 0; i <= t->merge_mask; i++)
        if (t->merges[i].left != UINT32_MAX) e->n_ranks = HYB_MAX(e->n_ranks, (size_t)t->merges[i].rank + 1);
    if (!(e->order = (uint32_t *)hyb_alloc(t->rt, e->n_ranks * sizeof *e->order))) return false;
    memset(e->order, 0xFF, e->n_ranks * sizeof *e->order);
    for (i = 0; i <= t->merge_mask; i++) {
        const hyb_merge *m = &t->merges[i];
        if (m->left == UINT32_MAX) continue;
        e->order[m->rank] = (uint32_t)i;
        e->n_merges++;
        e->text += hyb_export_size(e, m->left) + hyb_export_size(e, m->right) + 1;
    }
    for (i = 0; i < t->n_tokens; i++) e->text += hyb_export_size(e, i);
    return true;
}

static hybrid_result hyb_export_make(hyb_export *e, const hybrid_tokenizer *t, const char *function,
                                     hybrid_error *error)
{
    const char *begin;
    char *out;
    size_t i, n = 0, bytes;
    memset(e, 0, sizeof *e);
    e->t = t;
    if (!t->pre || t->raw)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "%s: only byte-level BPE with merges can be written. Copy the keys of the model's file by "
                        "hybrid_gguf_copy_keys",
                        function);
    hyb_speller_make(&e->speller);
    if (!hyb_export_order(e)) return hyb_fail_memory(error, e->n_ranks * sizeof *e->order);
    bytes = (t->n_tokens + e->n_merges) * sizeof *e->tokens + e->text;
    e->tokens = (hybrid_string *)hyb_alloc(t->rt, bytes);
    e->types = (int32_t *)hyb_alloc(t->rt, t->n_tokens * sizeof *e->types);
    if (!e->tokens || !e->types) {
        hyb_export_free(e);
        return hyb_fail_memory(error, bytes);
    }
    e->merges = e->tokens + t->n_tokens;
    out = (char *)(e->merges + e->n_merges);
    for (i = 0; i < t->n_tokens; i++) {
        e->types[i] = (int32_t)(t->kinds[i] & HYB_TOKEN_TYPE);
        e->tokens[i].data = begin = out;
        out = hyb_export_token(e, i, out);
        e->tokens[i].size = (size_t)(out - begin);
    }
    for (i = 0; i < e->n_ranks; i++) {
        const hyb_merge *m = e->order[i] == UINT32_MAX ? NULL : &t->merges[e->order[i]];
        if (!m) continue;
        e->merges[n].data = begin = out;
        out = hyb_export_token(e, m->left, out);
        *out++ = ' ';
        out = hyb_export_token(e, m->right, out);
        e->merges[n++].size = (size_t)(out - begin);
    }
    return HYBRID_OK;
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_export_keys(const hyb_export *e, hybrid_gguf_writer *w, hybrid_error *error)
{
    static const hyb_role_key roles[] = { { "tokenizer.ggml.bos_token_id", HYBRID_ROLE_BOS },
                                          { "tokenizer.ggml.eos_token_id", HYBRID_ROLE_EOS },
                                          { "tokenizer.ggml.eot_token_id", HYBRID_ROLE_EOT },
                                          { "tokenizer.ggml.eom_token_id", HYBRID_ROLE_EOM },
                                          { "tokenizer.ggml.unknown_token_id", HYBRID_ROLE_UNKNOWN },
                                          { "tokenizer.ggml.seperator_token_id",
                                            HYBRID_ROLE_SEPARATOR }, /* spelled so in the format */
                                          { "tokenizer.ggml.padding_token_id", HYBRID_ROLE_PADDING },
                                          { "tokenizer.ggml.mask_token_id", HYBRID_ROLE_MASK },
                                          { "tokenizer.ggml.fim_pre_token_id", HYBRID_ROLE_FIM_PREFIX },
                                          { "tokenizer.ggml.fim_suf_token_id", HYBRID_ROLE_FIM_SUFFIX },
                                          { "tokenizer.ggml.fim_mid_token_id", HYBRID_ROLE_FIM_MIDDLE },
                                          { "tokenizer.ggml.fim_pad_token_id", HYBRID_ROLE_FIM_PAD },
                                          { "tokenizer.ggml.fim_rep_token_id", HYBRID_ROLE_FIM_REPO },
                                          { "tokenizer.ggml.fim_sep_token_id", HYBRID_ROLE_FIM_SEPARATOR } };
    const hybrid_tokenizer *t = e->t;
    hybrid_result r;
    size_t i;
    if ((r = hybrid_gguf_set_string(w, "tokenizer.ggml.model", "gpt2", error)) != HYBRID_OK ||
        (r = hybrid_gguf_set_string(w, "tokenizer.ggml.pre", t->pre->name, error)) != HYBRID_OK ||
        (r = hybrid_gguf_set_strings(w, "tokenizer.ggml.tokens", e->tokens, t->n_tokens, error)) != HYBRID_OK ||
        (r = hybrid_gguf_set_numbers(w, "tokenizer.ggml.token_type", HYBRID_GGUF_I32, e->types, t->n_tokens, error)) !=
            HYBRID_OK ||
        (r = hybrid_gguf_set_strings(w, "tokenizer.ggml.merges", e->merges, e->n_merges, error)) != HYBRID_OK)
        return r;
    for (i = 0; i < HYB_COUNT(roles) && !r; i++)
        if (t->roles[roles[i].role] >= 0)
            r = hybrid_gguf_set_int(w, roles[i].key, HYBRID_GGUF_U32, t->roles[roles[i].role], error);
    if (!r) r = hybrid_gguf_set_int(w, "tokenizer.ggml.add_bos_token", HYBRID_GGUF_BOOL, t->add_bos, error);
    return r ? r : hybrid_gguf_set_int(w, "tokenizer.ggml.add_eos_token", HYBRID_GGUF_BOOL, t->add_eos, error);
}

HYB_BORDER(hybrid_result, hybrid_tokenizer_to_gguf,
           (const hybrid_tokenizer *tokenizer, hybrid_gguf_writer *writer, hybrid_error *error),
           (tokenizer, writer, error))
{
    hybrid_gguf_writer *keys = NULL;
    hybrid_error e;
    hyb_export all;
    e.result = HYBRID_OK;
    if (!tokenizer || !writer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_to_gguf: tokenizer or writer is NULL");
    if ((e.result = hyb_gguf_enter(writer, "hybrid_tokenizer_to_gguf", error)) != HYBRID_OK) return e.result;
    if (hyb_export_make(&all, tokenizer, "hybrid_tokenizer_to_gguf", &e) != HYBRID_OK)
        return hyb_gguf_note(writer, &e, error);
    if (hybrid_gguf_writer_create(writer->rt, &keys, &e) == HYBRID_OK && hyb_export_keys(&all, keys, &e) == HYBRID_OK)
        hyb_gguf_take_keys(writer, keys, &e);
    hybrid_gguf_writer_destroy(keys);
    hyb_export_free(&all);
    return hyb_gguf_note(writer, &e, error);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* A line for each merge, the most important first. */
static bool hyb_export_merges(const hyb_export *e, hybrid_write_fn write, void *user)
{
    size_t i;
    bool ok = write(user, "#version: 0.2\n", 14);
    for (i = 0; i < e->n_merges && ok; i++)
        ok = write(user, e->merges[i].data, e->merges[i].size) && write(user, "\n", 1);
    return ok;
}

/* {"text": id, ...} */
static bool hyb_export_vocab(const hyb_export *e, hybrid_write_fn write, void *user)
{
    char number[32];
    size_t i;
    bool ok = true;
    for (i = 0; i < e->t->n_tokens && ok; i++) {
        const int n = snprintf(number, sizeof number, ": %llu", (unsigned long long)i);
        ok = write(user, i ? ",\n" : "{", i ? 2 : 1) &&
             hyb_json_quote(e->tokens[i].data, e->tokens[i].size, false, write, user) && write(user, number, (size_t)n);
    }
    return ok && write(user, "}\n", 2);
}

HYB_BORDER(hybrid_result, hybrid_tokenizer_write,
           (const hybrid_tokenizer *tokenizer, hybrid_tokenizer_text what, hybrid_write_fn write, void *user,
            hybrid_error *error),
           (tokenizer, what, write, user, error))
{
    hyb_export all;
    hybrid_result r;
    bool ok;
    if (!tokenizer || !write)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_write: tokenizer or write is NULL");
    if (what != HYBRID_TOKENIZER_MERGES && what != HYBRID_TOKENIZER_VOCAB)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_write: there is no text %d", (int)what);
    if ((r = hyb_export_make(&all, tokenizer, "hybrid_tokenizer_write", error)) != HYBRID_OK) return r;
    ok = what == HYBRID_TOKENIZER_MERGES ? hyb_export_merges(&all, write, user) : hyb_export_vocab(&all, write, user);
    hyb_fp_plain();
    hyb_export_free(&all);
    return ok ? HYBRID_OK : hyb_fail(error, HYBRID_ERROR_IO, "hybrid_tokenizer_write: the callback refused some bytes");
}
#endif
