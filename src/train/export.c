/* train/export: the weights of a trainer as a model file.
 *
 * It has the keys and tensors of the model's file, in its order. Tensors that the model is computed with are what they
 * are now; the others (the half of a model that sees, masks) are copied. */
#ifndef HYB_TRAIN_EXPORT_C
#define HYB_TRAIN_EXPORT_C
#include "../gguf/write.c"
#include "../quant/convert.c"
#include "../quant/mix.c"
#include "step.c"

typedef struct hyb_trained {
    hybrid_runtime *rt;
    hybrid_model *model; /* NULL: it is somebody else's */
    hybrid_gguf_writer *out;
    const float *weights; /* NULL: the model's; else laid out like them */
    hybrid_mix mix;
    hybrid_mix_model about;
    int32_t *heads; /* of about */
    char *name;     /* room for any name of the file, and a prefix */
    size_t name_room;
} hyb_trained;

/* What is converted at a time. */
enum { HYB_TRAINED_SLAB = 4 << 20 };

/* Tensors and keys that a checkpoint adds to those of a model. */
static bool hyb_checkpoint_owns(hybrid_string name) { return hyb_string_begins(name, "hybrid."); }

/* How a model was cut into files says nothing about the one that is made. */
static bool hyb_trained_keeps(hybrid_string key)
{
    return !hyb_checkpoint_owns(key) && !hyb_string_begins(key, "split.");
}

/* A name of the file as text, after a prefix. */
static const char *hyb_trained_name(hyb_trained *e, const char *prefix, hybrid_string name)
{
    const size_t n = strlen(prefix);
    memcpy(e->name, prefix, n);
    memcpy(e->name + n, name.data, name.size);
    e->name[n + name.size] = 0;
    return e->name;
}

/* What the mixes ask of a model. */
static hybrid_result hyb_trained_about(hyb_trained *e, hybrid_error *error)
{
    const hyb_hparams *hp = &e->model->hp;
    char key[HYB_KEY_ROOM];
    hybrid_gguf_value value;
    int32_t i;
    e->about.architecture = hp->arch->name;
    e->about.n_layer = hp->n_layer;
    e->about.n_expert = hp->n_expert;
    e->about.n_head = hp->n_head;
    e->about.n_head_kv = hp->n_head_kv;
    e->about.tied_output = !hybrid_gguf_find_tensor(e->model->gguf, "output.weight");
    snprintf(key, sizeof key, "%s.attention.head_count_kv", hp->arch->name);
    if (!hybrid_gguf_find(e->model->gguf, key, &value) || value.type != HYBRID_GGUF_ARRAY) return HYBRID_OK;
    if (!(e->heads = (int32_t *)hyb_calloc(e->rt, (size_t)hp->n_layer, sizeof *e->heads)))
        return hyb_fail_memory(error, (size_t)hp->n_layer * sizeof *e->heads);
    for (i = 0; i < hp->n_layer; i++) e->heads[i] = hp->layers[i].n_head_kv;
    e->about.n_head_kv_of = e->heads;
    return HYBRID_OK;
}

/* model NULL: somebody else's. */
static hybrid_result hyb_trained_begin(hyb_trained *e, hybrid_runtime *rt, hybrid_model *model, hybrid_mix mix,
                                       hybrid_error *error)
{
    const hybrid_gguf *gguf = model ? model->gguf : NULL;
    size_t i;
    hybrid_result r;
    memset(e, 0, sizeof *e);
    e->rt = rt;
    e->model = model;
    e->mix = mix;
    e->name_room = HYB_OWN_NAME;
    for (i = 0; i < hybrid_gguf_tensor_count(gguf); i++)
        e->name_room = HYB_MAX(e->name_room, hybrid_gguf_tensor_at(gguf, i)->name.size);
    for (i = 0; i < hybrid_gguf_key_count(gguf); i++)
        e->name_room = HYB_MAX(e->name_room, hybrid_gguf_key(gguf, i, NULL).size);
    e->name_room += 32;
    if (!(e->name = (char *)hyb_alloc(e->rt, e->name_room))) return hyb_fail_memory(error, e->name_room);
    if (e->model && (r = hyb_trained_about(e, error)) != HYBRID_OK) return r;
    return hybrid_gguf_writer_create(e->rt, &e->out, error);
}

static void hyb_trained_end(hyb_trained *e)
{
    hybrid_gguf_writer_destroy(e->out);
    hyb_free(e->rt, e->heads);
    hyb_free(e->rt, e->name);
}

static hybrid_result hyb_trained_keys(hyb_trained *e, hybrid_error *error)
{
    const hybrid_gguf *gguf = e->model->gguf;
    hybrid_gguf_value value;
    size_t i;
    hybrid_result r = HYBRID_OK;
    for (i = 0; i < hybrid_gguf_key_count(gguf) && !r; i++) {
        const hybrid_string key = hybrid_gguf_key(gguf, i, &value);
        if (hyb_trained_keeps(key)) r = hybrid_gguf_set(e->out, hyb_trained_name(e, "", key), &value, error);
    }
    if (!r) r = hybrid_gguf_set_int(e->out, "general.file_type", HYBRID_GGUF_U32, e->mix, error);
    if (!r) r = hybrid_gguf_set_int(e->out, "general.quantization_version", HYBRID_GGUF_U32, 2, error);
    return r;
}

/* The tensor of the model that was read from one of the file; NULL: it is not computed with. */
static const hyb_tensor *hyb_trained_tensor(const hyb_trained *e, size_t source)
{
    const hyb_weights *w = &e->model->weights;
    int32_t i;
    for (i = 1; i < w->n_tensors; i++)
        if (w->tensors[i].source == source && !w->tensors[i].same_as) return &w->tensors[i];
    return NULL;
}

/* The type that a tensor gets. */
static hybrid_type hyb_trained_type(hyb_trained *e, const hybrid_gguf_tensor *of, const hyb_tensor *t)
{
    if (!t) return of->type;
    if (t->is_vector) return HYBRID_TYPE_F32;
    return hybrid_quantize_type_for(e->mix, &e->about, hyb_trained_name(e, "", of->name), of->n_dims, of->ne,
                                    HYBRID_TYPE_F32);
}

static hybrid_result hyb_trained_tensors(hyb_trained *e, hybrid_error *error)
{
    const hybrid_gguf *gguf = e->model->gguf;
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < hybrid_gguf_tensor_count(gguf) && !r; i++) {
        const hybrid_gguf_tensor *of = hybrid_gguf_tensor_at(gguf, i);
        const hybrid_type type = hyb_trained_type(e, of, hyb_trained_tensor(e, i));
        if (hyb_checkpoint_owns(of->name)) continue;
        r = hybrid_gguf_add_tensor(e->out, hyb_trained_name(e, "", of->name), type, of->n_dims, of->ne, error);
    }
    return r;
}

/* The bytes of a tensor that is not computed with. */
static hybrid_result hyb_trained_copy(hyb_trained *e, const hybrid_gguf_tensor *of, hybrid_error *error)
{
    void *bytes;
    hybrid_result r;
    if (of->data || !of->size) return hybrid_gguf_write(e->out, of->data, (size_t)of->size, error);
    if (of->size > SIZE_MAX || !(bytes = hyb_alloc(e->rt, (size_t)of->size))) return hyb_fail_memory(error, of->size);
    r = hybrid_gguf_read_tensor(e->model->gguf, of, bytes, error);
    if (!r) r = hybrid_gguf_write(e->out, bytes, (size_t)of->size, error);
    hyb_free(e->rt, bytes);
    return r;
}

/* Can the type hold the values? Blocks are looked at while they are made. */
static hybrid_result hyb_trained_check(const hybrid_gguf_tensor *of, const float *values, size_t n, hybrid_type type,
                                       hybrid_error *error)
{
    char text[64];
    size_t i = hyb_not_finite(values, n);
    if (i == n && type == HYBRID_TYPE_F16)
        for (i = 0; i < n && fabsf(values[i]) < 65520.0f; i++) {}
    if (i == n) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_NUMERIC, "value %llu of tensor '%s' is %g, which a model of %s cannot hold",
                    (unsigned long long)i, hyb_printable(of->name, text), (double)values[i], hybrid_type_name(type));
}

/* The values of a tensor in their new type, some rows at a time. */
static hybrid_result hyb_trained_convert(hyb_trained *e, const hybrid_gguf_tensor *of, const float *values,
                                         hybrid_type type, hybrid_error *error)
{
    const size_t row = (size_t)of->ne[0], n_rows = (size_t)(of->ne[1] * of->ne[2] * of->ne[3]);
    const size_t row_bytes = hybrid_type_row_bytes(type, row);
    const size_t slab = HYB_MIN(n_rows, HYB_TRAINED_SLAB / (row_bytes + 1) + 1);
    char *blocks;
    size_t i;
    hybrid_result r = hyb_trained_check(of, values, row * n_rows, type, error);
    if (r) return r;
    if (type == HYBRID_TYPE_F32) return hybrid_gguf_write(e->out, values, row_bytes * n_rows, error);
    if (!(blocks = (char *)hyb_alloc(e->rt, slab * row_bytes))) return hyb_fail_memory(error, slab * row_bytes);
    for (i = 0; i < n_rows && !r; i += slab) {
        const size_t n = HYB_MIN(slab, n_rows - i);
        r = hybrid_convert(e->rt, HYBRID_TYPE_F32, values + i * row, type, blocks, n, row, NULL, error);
        if (!r) r = hybrid_gguf_write(e->out, blocks, n * row_bytes, error);
    }
    hyb_free(e->rt, blocks);
    return r;
}

/* The bytes of all tensors that hyb_trained_tensors announced. */
static hybrid_result hyb_trained_write(hyb_trained *e, hybrid_error *error)
{
    const hybrid_gguf *gguf = e->model->gguf;
    const float *own = (const float *)(const void *)e->model->weights.owned;
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < hybrid_gguf_tensor_count(gguf) && !r; i++) {
        const hybrid_gguf_tensor *of = hybrid_gguf_tensor_at(gguf, i);
        const hyb_tensor *t = hyb_trained_tensor(e, i);
        if (hyb_checkpoint_owns(of->name)) continue;
        if (!t)
            r = hyb_trained_copy(e, of, error);
        else {
            const float *values = (const float *)t->data;
            if (e->weights) values = e->weights + (values - own);
            r = hyb_trained_convert(e, of, values, hyb_trained_type(e, of, t), error);
        }
    }
    return r;
}

static hybrid_result hyb_trained_export(hybrid_trainer *t, const char *path, hybrid_mix mix, hybrid_error *error)
{
    hyb_trained e;
    hybrid_result r = hyb_trained_begin(&e, t->rt, t->model, mix, error);
    if (!r) r = hyb_trained_keys(&e, error);
    if (!r) r = hyb_trained_tensors(&e, error);
    if (!r) r = hyb_transformer_fetch(t->model, t->objective->cut.real, error);
    if (!r) r = hybrid_gguf_begin_path(e.out, path, error);
    if (!r) r = hyb_trained_write(&e, error);
    if (!r) r = hybrid_gguf_end(e.out, error);
    hyb_trained_end(&e);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_export,
           (hybrid_trainer *trainer, const char *path, hybrid_mix mix, hybrid_error *error),
           (trainer, path, mix, error))
{
    hybrid_result r;
    if (!trainer || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_export: %s is NULL", trainer ? "path" : "trainer");
    if (!hybrid_mix_name(mix))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_export: there is no mix %d", (int)mix);
    if (trainer->desc.adapter)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_export: what is trained is an adapter, and the model is as its file has it: "
                        "hybrid_adapter_save writes the adapter");
    if (!trainer->model)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_export: what is trained is somebody else's model, which only its owner can "
                        "write; hybrid_trainer_save writes a checkpoint of it");
    if ((r = hyb_trainer_ready(trainer, "hybrid_trainer_export", error)) != HYBRID_OK) return r;
    trainer->in_use = hyb_process();
    r = hyb_trained_export(trainer, path, mix, error);
    trainer->in_use = 0;
    return r;
}
#endif
