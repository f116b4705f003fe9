/* model/adapter_file: adapters from and to files, in the form of llama.cpp:
 *
 *     general.type "adapter", adapter.type "lora", adapter.lora.alpha, general.architecture
 *     blk.0.attn_q.weight.lora_a (k, rank)    blk.0.attn_q.weight.lora_b (rank, out)    ...
 *     blk.0.ffn_up_exps.weight.lora_a (k, rank, n_expert)    ...
 *
 * The rows of q and k are those of the model's file: a converter from PEFT has permuted them as it does the model's. */
#ifndef HYB_MODEL_ADAPTER_FILE_C
#define HYB_MODEL_ADAPTER_FILE_C
#include "../gguf/write.c"
#include "../quant/convert.c"
#include "adapter_make.c"

typedef struct hyb_adapter_source {
    hybrid_model *m;
    hybrid_gguf *gguf;
    hybrid_adapter *adapter;
} hyb_adapter_source;

/* The text of a key, or NULL: missing, or no text that fits. */
static const char *hyb_adapter_key(const hybrid_gguf *gguf, const char *key, char text[64])
{
    hybrid_string s;
    if (!hybrid_gguf_get_string(gguf, key, &s)) return NULL;
    return hyb_printable(s, text);
}

static hybrid_result hyb_adapter_check_keys(const hyb_adapter_source *s, float *alpha, hybrid_error *error)
{
    const char *arch = s->m->hp.arch->name, *is;
    char text[64];
    hybrid_gguf_value value;
    double number = 0;
    is = hyb_adapter_key(s->gguf, "general.type", text);
    if (!is || strcmp(is, "adapter"))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the file is not an adapter: its key general.type is %s%s%s, not \"adapter\"", is ? "\"" : "",
                        is ? is : "missing", is ? "\"" : "");
    is = hyb_adapter_key(s->gguf, "adapter.type", text);
    if (!is || strcmp(is, "lora"))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the adapter's key adapter.type is %s%s%s; hybrid reads \"lora\"", is ? "\"" : "",
                        is ? is : "missing", is ? "\"" : "");
    is = hyb_adapter_key(s->gguf, "general.architecture", text);
    if (!is || strcmp(is, arch))
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "the adapter is for a model of architecture %s, but this one is %s",
                        is ? is : "(none)", arch);
    if (hybrid_gguf_find(s->gguf, "adapter.alora.invocation_tokens", &value))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the adapter begins to work at certain tokens only (adapter.alora.invocation_tokens), which "
                        "hybrid does not do");
    if (hybrid_gguf_find(s->gguf, "adapter.lora.alpha", &value) &&
        (!hybrid_gguf_get_f64(s->gguf, "adapter.lora.alpha", &number) || !(number >= 0) || number > 3e38))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the adapter's key adapter.lora.alpha is not a finite number of at least 0");
    *alpha = (float)number;
    return HYBRID_OK;
}

/* The matrix that tensor "NAME.lora_a" or "NAME.lora_b" of the adapter is for. */
static hybrid_result hyb_adapter_base(const hyb_adapter_source *s, const hybrid_gguf_tensor *t, hyb_weight *w,
                                      hybrid_error *error)
{
    const hybrid_model *m = s->m;
    char shown[64], text[HYB_NAME_ROOM];
    const char *why;
    hyb_printable(t->name, shown);
    if (!hyb_string_ends(t->name, ".lora_a") && !hyb_string_ends(t->name, ".lora_b"))
        return hyb_fail_at(
            error, HYBRID_ERROR_UNSUPPORTED, t->offset,
            "the adapter's tensor '%s' is neither lora_a nor lora_b of a matrix, which is all that hybrid "
            "adds",
            shown);
    for (*w = 1; *w < m->weights.n_tensors; ++*w) {
        const hybrid_string name = hyb_weights_source(m->gguf, &m->weights.tensors[*w])->name;
        if (m->weights.tensors[*w].same_as || name.size + 7 != t->name.size ||
            memcmp(name.data, t->name.data, name.size))
            continue;
        why = hyb_adapter_cannot(&m->weights.tensors[*w], hyb_adapter_tensor_name(m, *w, text));
        if (!why) return HYBRID_OK;
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, t->offset, "the adapter's tensor '%s' is refused: %s",
                           shown, why);
    }
    return hyb_fail_at(error, HYBRID_ERROR_FORMAT, t->offset,
                       "the adapter's tensor '%s' is for a matrix that the model does not have", shown);
}

/* Finds the rank of a pair from both of its tensors, and checks their sizes. */
static hybrid_result hyb_adapter_check_pair(const hyb_adapter_source *s, const hybrid_gguf_tensor *a,
                                            const hybrid_gguf_tensor *b, hyb_weight w, int32_t *rank,
                                            hybrid_error *error)
{
    const hyb_tensor *t = &s->m->weights.tensors[w];
    char shown[64];
    hyb_printable(a->name, shown);
    if (a->ne[2] != (uint64_t)t->ne[2] || b->ne[2] != a->ne[2] || a->ne[3] != 1 || b->ne[3] != 1 ||
        a->ne[0] != (uint64_t)t->ne[0] || b->ne[1] != (uint64_t)t->ne[1] || a->ne[1] != b->ne[0] || !a->ne[1])
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, a->offset,
                           "'%s' is %llu x %llu x %llu and its lora_b %llu x %llu x %llu, but the matrix is "
                           "%lld x %lld x %lld",
                           shown, (unsigned long long)a->ne[0], (unsigned long long)a->ne[1],
                           (unsigned long long)a->ne[2], (unsigned long long)b->ne[0], (unsigned long long)b->ne[1],
                           (unsigned long long)b->ne[2], (long long)t->ne[0], (long long)t->ne[1],
                           (long long)t->ne[2]);
    if (a->ne[1] > HYBRID_ADAPTER_MAX_RANK)
        return hyb_fail_at(error, HYBRID_ERROR_LIMIT, a->offset, "'%s' has rank %llu; hybrid goes to %d", shown,
                           (unsigned long long)a->ne[1], HYBRID_ADAPTER_MAX_RANK);
    if (!hybrid_type_block_bytes(a->type) || !hybrid_type_block_bytes(b->type))
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, a->offset,
                           "'%s' or its lora_b has type %s, which hybrid does not read", shown,
                           hybrid_gguf_tensor_type_name(hybrid_type_block_bytes(a->type) ? b->type_id : a->type_id));
    *rank = (int32_t)a->ne[1];
    return HYBRID_OK;
}

/* The other half of a pair: "NAME.lora_b" of "NAME.lora_a", and back. NULL: there is none. */
static const hybrid_gguf_tensor *hyb_adapter_other(const hybrid_gguf *gguf, const hybrid_gguf_tensor *t)
{
    char name[HYB_NAME_ROOM + 8];
    const bool is_a = hyb_string_ends(t->name, ".lora_a");
    if (t->name.size >= sizeof name) return NULL;
    memcpy(name, t->name.data, t->name.size);
    name[t->name.size - 1] = is_a ? 'b' : 'a';
    name[t->name.size] = 0;
    return hybrid_gguf_find_tensor(gguf, name);
}

/* The pairs of the file, in the order of the model's table. */
static hybrid_result hyb_adapter_read_pairs(hyb_adapter_source *s, float alpha, hybrid_error *error)
{
    const size_t n = hybrid_gguf_tensor_count(s->gguf);
    hybrid_adapter *a;
    hybrid_result r;
    hyb_weight w;
    size_t i;
    if (!n) return hyb_fail(error, HYBRID_ERROR_FORMAT, "the adapter has no tensors");
    if ((r = hyb_adapter_new(s->m, (int32_t)(n / 2 + 1), alpha, &s->adapter, error)) != HYBRID_OK) return r;
    a = s->adapter;
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(s->gguf, i), *other;
        char shown[64];
        int32_t rank;
        if ((r = hyb_adapter_base(s, t, &w, error)) != HYBRID_OK) return r;
        if (!(other = hyb_adapter_other(s->gguf, t)))
            return hyb_fail_at(error, HYBRID_ERROR_FORMAT, t->offset,
                               "the adapter has a tensor '%s', but not the other one of its pair",
                               hyb_printable(t->name, shown));
        if (hyb_string_ends(t->name, ".lora_b")) continue;
        if ((r = hyb_adapter_check_pair(s, t, other, w, &rank, error)) != HYBRID_OK) return r;
        a->pair_of[w] = rank; /* until all are known */
    }
    for (w = 1; w < a->n_weights; w++) {
        if (!a->pair_of[w]) continue;
        a->pairs[a->n_pairs].w = w;
        a->pairs[a->n_pairs++].rank = a->pair_of[w];
    }
    return hyb_adapter_room(a, error);
}

/* One matrix of the arena, as floats. */
static hybrid_result hyb_adapter_read_matrix(const hyb_adapter_source *s, const hyb_adapter_pair *p, bool is_b,
                                             hybrid_error *error)
{
    char name[HYB_NAME_ROOM + 8], text[HYB_NAME_ROOM];
    const hyb_tensor *to = is_b ? &p->b : &p->a;
    float *values = s->adapter->values + (is_b ? p->b_at : p->a_at);
    const size_t n = hyb_adapter_count(to);
    const hybrid_gguf_tensor *t;
    hybrid_result r;
    size_t i;
    snprintf(name, sizeof name, "%s.lora_%c", hyb_adapter_tensor_name(s->m, p->w, text), is_b ? 'b' : 'a');
    t = hybrid_gguf_find_tensor(s->gguf, name);
    if ((r = hyb_floats_read(s->gguf, t, (unsigned char *)values, error)) != HYBRID_OK) return r;
    for (i = 0; i < n; i++)
        if (!(values[i] >= -3.4e38f && values[i] <= 3.4e38f))
            return hyb_fail_at(error, HYBRID_ERROR_NUMERIC, t->offset,
                               "value %llu of the adapter's tensor '%.64s' is not a finite number",
                               (unsigned long long)i, name);
    return HYBRID_OK;
}

static hybrid_result hyb_adapter_read(hyb_adapter_source *s, const hybrid_source *source, hybrid_error *error)
{
    float alpha = 0;
    hybrid_result r;
    int32_t i;
    if ((r = hybrid_gguf_open(s->m->rt, source, &s->gguf, error)) != HYBRID_OK) return r;
    if ((r = hyb_adapter_check_keys(s, &alpha, error)) != HYBRID_OK) return r;
    if ((r = hyb_adapter_read_pairs(s, alpha, error)) != HYBRID_OK) return r;
    for (i = 0; i < s->adapter->n_pairs && !r; i++) {
        r = hyb_adapter_read_matrix(s, &s->adapter->pairs[i], false, error);
        if (!r) r = hyb_adapter_read_matrix(s, &s->adapter->pairs[i], true, error);
    }
    return r ? r : hyb_adapter_upload(s->adapter, error);
}

HYB_BORDER(hybrid_result, hybrid_adapter_load,
           (hybrid_model *model, const hybrid_source *source, hybrid_adapter **adapter, hybrid_error *error),
           (model, source, adapter, error))
{
    hyb_adapter_source s;
    hybrid_result r;
    if (adapter) *adapter = NULL;
    if (!model || !source || !adapter) {
        if (source) hyb_source_close(source, 0);
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_load: %s is NULL",
                        !model    ? "model"
                        : !source ? "source"
                                  : "adapter");
    }
    memset(&s, 0, sizeof s);
    s.m = model;
    r = hyb_adapter_read(&s, source, error);
    hybrid_gguf_destroy(s.gguf);
    if (!r)
        *adapter = s.adapter;
    else if (s.adapter)
        hyb_adapter_free(s.adapter);
    return r;
}

/* ---- save ---- */

static hybrid_result hyb_adapter_announce(const hybrid_adapter *a, hybrid_gguf_writer *out, hybrid_type type,
                                          hybrid_error *error)
{
    char name[HYB_NAME_ROOM + 8], text[HYB_NAME_ROOM];
    hybrid_result r = HYBRID_OK;
    int32_t i;
    if (!r) r = hybrid_gguf_set_string(out, "general.type", "adapter", error);
    if (!r) r = hybrid_gguf_set_string(out, "general.architecture", a->model->hp.arch->name, error);
    if (!r) r = hybrid_gguf_set_string(out, "adapter.type", "lora", error);
    if (!r) r = hybrid_gguf_set_float(out, "adapter.lora.alpha", HYBRID_GGUF_F32, a->alpha, error);
    for (i = 0; i < 2 * a->n_pairs && !r; i++) {
        const hyb_adapter_pair *p = &a->pairs[i / 2];
        const hyb_tensor *t = i % 2 ? &p->b : &p->a;
        uint64_t ne[3];
        ne[0] = (uint64_t)t->ne[0];
        ne[1] = (uint64_t)t->ne[1];
        ne[2] = (uint64_t)t->ne[2];
        snprintf(name, sizeof name, "%s.lora_%c", hyb_adapter_tensor_name(a->model, p->w, text), i % 2 ? 'b' : 'a');
        r = hybrid_gguf_add_tensor(out, name, type, ne[2] > 1 ? 3 : 2, ne, error);
    }
    return r;
}

/* One matrix; what the type cannot hold is refused. */
static hybrid_result hyb_adapter_write(const hybrid_adapter *a, const hyb_tensor *t, hybrid_gguf_writer *out,
                                       hybrid_type type, hybrid_error *error)
{
    const size_t n = hyb_adapter_count(t), bytes = hybrid_type_row_bytes(type, n);
    const float *values = (const float *)t->data, most = type == HYBRID_TYPE_F16 ? 65519.0f : 3.4e38f;
    hybrid_result r;
    void *halves;
    size_t i;
    for (i = 0; i < n; i++)
        if (!(values[i] >= -most && values[i] <= most))
            return hyb_fail(error, HYBRID_ERROR_NUMERIC, "a value of the adapter is not finite, or too large for %s",
                            hybrid_type_name(type));
    if (type == HYBRID_TYPE_F32) return hybrid_gguf_write(out, values, bytes, error);
    if (!(halves = hyb_alloc(a->rt, bytes))) return hyb_fail_memory(error, bytes);
    r = hybrid_quantize(type, values, halves, n, NULL, error);
    if (!r) r = hybrid_gguf_write(out, halves, bytes, error);
    hyb_free(a->rt, halves);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_adapter_save,
           (const hybrid_adapter *adapter, const char *path, hybrid_type type, hybrid_error *error),
           (adapter, path, type, error))
{
    hybrid_gguf_writer *out = NULL;
    hybrid_result r;
    int32_t i;
    if (!adapter || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_save: %s is NULL", adapter ? "path" : "adapter");
    if (type != HYBRID_TYPE_F32 && type != HYBRID_TYPE_F16)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_save: an adapter is saved as F32 or F16");
    r = hybrid_gguf_writer_create(adapter->rt, &out, error);
    if (!r) r = hyb_adapter_announce(adapter, out, type, error);
    if (!r) r = hybrid_gguf_begin_path(out, path, error);
    for (i = 0; i < adapter->n_pairs && !r; i++) {
        r = hyb_adapter_write(adapter, &adapter->pairs[i].a, out, type, error);
        if (!r) r = hyb_adapter_write(adapter, &adapter->pairs[i].b, out, type, error);
    }
    if (!r) r = hybrid_gguf_end(out, error);
    hybrid_gguf_writer_destroy(out);
    return r;
}
#endif
