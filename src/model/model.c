/* model/model: a loaded model: file, numbers, weights, tokenizer, chat template. */
#ifndef HYB_MODEL_MODEL_C
#define HYB_MODEL_MODEL_C
#include "../compute/cpu/backend.c"
#include "unused.c"
#include "repack.c"
#ifndef HYBRID_NO_TEXT
    #include "../text/template.c"
#endif

struct hybrid_model {
    hybrid_runtime *rt;
    hybrid_gguf *gguf;
    hyb_hparams hp;
    hyb_net net;         /* which tensor does what */
    hyb_weights weights; /* where they are: in the file, or read into the host's memory */
    hyb_device host;
    hyb_place place;       /* of those that are on a GPU as well */
    bool trainable;        /* the weights are floats in own memory, which a trainer may change */
    hyb_repacked repacked; /* of those that are there once more for decode */
    volatile uint64_t identity; /* model/identity.c; 0: not known yet */
#ifndef HYBRID_NO_TEXT
    hybrid_tokenizer *tokenizer;
    hybrid_template *chat; /* NULL: none fits */
#endif
};

#ifndef HYBRID_NO_TEXT

/* A template that hybrid cannot run must not keep the model from being used: sessions fall back to plain text, and the
 * log says so. */
static hybrid_result hyb_model_open_template(hybrid_model *m, hybrid_error *error)
{
    hybrid_template_desc desc;
    hybrid_string text;
    hybrid_error why;
    hybrid_result r;
    char name[64];
    memset(&desc, 0, sizeof desc);
    if (hybrid_gguf_get_string(m->gguf, "tokenizer.chat_template", &text) && text.size) {
        if (!hyb_template_resolve(&text)) {
            hyb_log(m->rt, HYBRID_LOG_WARN, "the model's chat template is \"%s\", a name that hybrid does not know",
                    hyb_printable(text, name));
            return HYBRID_OK;
        }
        desc.text = text.data;
        desc.size = text.size;
    } else { /* some converters lose the template, but the vocabulary still shows ChatML */
        const int32_t start = hybrid_token_find(m->tokenizer, "<|im_start|>", 12),
                      end = hybrid_token_find(m->tokenizer, "<|im_end|>", 10);
        if (start < 0 || end < 0 || !hybrid_token_is_end(m->tokenizer, end)) return HYBRID_OK;
        desc.text = HYBRID_TEMPLATE_CHATML;
    }
    r = hybrid_template_create(m->rt, &desc, &m->chat, &why);
    if (r == HYBRID_ERROR_MEMORY) {
        if (error) *error = why;
        return r;
    }
    if (r) hyb_log(m->rt, HYBRID_LOG_WARN, "the model's chat template is not usable: %s", why.message);
    return HYBRID_OK;
}

static hybrid_result hyb_model_open_text(hybrid_model *m, hybrid_error *error)
{
    hybrid_result r = hybrid_tokenizer_from_gguf(m->rt, m->gguf, &m->tokenizer, error);
    if (r) return r;
    if (hybrid_vocab_size(m->tokenizer) > m->hp.n_vocab)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the tokenizer has %d tokens, but the model only %d: they do not belong together",
                        hybrid_vocab_size(m->tokenizer), m->hp.n_vocab);
    return hyb_model_open_template(m, error);
}

static void hyb_model_close_text(hybrid_model *m)
{
    hybrid_template_destroy(m->chat);
    hybrid_tokenizer_destroy(m->tokenizer);
}

HYBRID_API const hybrid_tokenizer *hybrid_model_tokenizer(const hybrid_model *model)
{
    return model ? model->tokenizer : NULL;
}
HYBRID_API const hybrid_template *hybrid_model_template(const hybrid_model *model)
{
    return model ? model->chat : NULL;
}
#endif

static hybrid_source hyb_model_source(const hybrid_model_desc *desc)
{
    hybrid_source source = desc->source;
    if (desc->path) source.path = desc->path;
    return source;
}

/* Everything but the weights' bytes. lent: the readers will be used again, by the caller. */
static hybrid_result hyb_model_open(hybrid_model *m, const hybrid_model_desc *desc, bool lent, hybrid_error *error)
{
    const hybrid_source source = hyb_model_source(desc);
    hybrid_result r;
    if ((r = hyb_gguf_open_source(m->rt, &source, lent, !desc->no_map, &m->gguf, error)) != HYBRID_OK) return r;
    if ((r = hyb_hparams_read(m->rt, m->gguf, &m->hp, error)) != HYBRID_OK) return r;
    if ((r = hyb_net_find(&m->net, m->rt, m->gguf, &m->hp, &m->weights, error)) != HYBRID_OK) return r;
    if ((r = hyb_weights_settle(m->rt, m->gguf, &m->hp, &m->weights, error)) != HYBRID_OK) return r;
    if (desc->trainable && (m->hp.arch->has & HYB_HAS_BOTH_WAYS))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "a model of the architecture '%s' is an encoder, which hybrid runs (hybrid_embed) and cannot "
                        "train: load it without trainable",
                        m->hp.arch->name);
    if (desc->trainable) hyb_weights_as_floats(&m->weights);
#ifndef HYBRID_NO_TEXT
    r = hyb_model_open_text(m, error);
#endif
    return r;
}

static hybrid_result hyb_model_create(hybrid_runtime *runtime, const hybrid_model_desc *desc, bool lent,
                                      hybrid_model **model, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_result r = HYBRID_OK;
    if (desc->path && desc->source.path)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_model_load: give path or source.path, not both");
    if (!r) r = hyb_runtime_retain(runtime, &rt, error);
    if (!r && !(*model = (hybrid_model *)hyb_calloc(rt, 1, sizeof **model))) {
        hyb_runtime_release(rt);
        r = hyb_fail_memory(error, sizeof **model);
    }
    if (r) {
        const hybrid_source source = hyb_model_source(desc);
        if (!lent) hyb_source_close(&source, 0);
        return r;
    }
    (*model)->rt = rt;
    (*model)->trainable = desc->trainable;
    hyb_host_device(&(*model)->host, rt);
    return hyb_model_open(*model, desc, lent, error);
}

HYB_BORDER_VOID(hybrid_model_destroy, (hybrid_model *model), (model))
{
    hybrid_runtime *rt;
    if (!model) return;
    rt = model->rt;
#ifndef HYBRID_NO_TEXT
    hyb_model_close_text(model);
#endif
    hyb_place_free(&model->place, rt);
    hyb_free_aligned(rt, model->repacked.data);
    hyb_weights_free(rt, &model->weights);
    hyb_net_free(rt, &model->net);
    hyb_hparams_free(rt, &model->hp);
    hybrid_gguf_destroy(model->gguf);
    hyb_free(rt, model);
    hyb_runtime_release(rt);
}

/* The number of tokens in the vocabulary; the output may be padded beyond them. */
static int32_t hyb_model_n_tokens(const hybrid_model *m)
{
#ifndef HYBRID_NO_TEXT
    return hybrid_vocab_size(m->tokenizer);
#else
    hybrid_gguf_value tokens;
    if (!hybrid_gguf_find(m->gguf, "tokenizer.ggml.tokens", &tokens) || tokens.count > (uint64_t)m->hp.n_vocab)
        return m->hp.n_vocab;
    return (int32_t)tokens.count;
#endif
}

/* Decides what goes to the GPU, if there is one. A context of default size, or as the descriptor says, finds room
 * beside it. */
static hybrid_result hyb_model_place(hybrid_model *m, hyb_device *gpu, const hybrid_model_desc *desc,
                                     hybrid_error *error)
{
    hybrid_context_desc d;
    hybrid_error why;
    hybrid_result r;
    if (!gpu) return HYBRID_OK;
    memset(&d, 0, sizeof d);
    d.n_ctx = desc->device_n_ctx;
    d.n_seq = 1;
    if ((r = hyb_context_defaults(&m->hp, &d, &d, error)) != HYBRID_OK) return r;
    if (desc->trainable)
        hyb_place_choose_trained(&m->place, gpu, &m->net, &m->weights, &m->hp, &d, &why);
    else
        hyb_place_choose(&m->place, gpu, &m->net, &m->weights, &m->hp, &d, &why);
    if (!m->place.gpu)
        hyb_log(m->rt, HYBRID_LOG_WARN, "the model %s on the CPU: %s", desc->trainable ? "is trained" : "runs",
                why.message);
    else if (m->place.first)
        hyb_log(m->rt, HYBRID_LOG_WARN, "layers 0 to %d of %d run on the CPU: they do not fit into the GPU's memory",
                m->place.first - 1, m->hp.n_layer);
    return HYBRID_OK;
}

/* A GPU that fails is not a failure of the model: it runs on the CPU then. */
static hybrid_result hyb_model_upload(hybrid_model *m, const hybrid_model_desc *desc, hybrid_error *error)
{
    hyb_device *gpu;
    hybrid_error why;
    hybrid_result r;
    if ((r = hyb_runtime_gpu(m->rt, &gpu, error)) != HYBRID_OK ||
        (r = hyb_model_place(m, gpu, desc, error)) != HYBRID_OK || !m->place.gpu)
        return r;
    if ((r = hyb_place_upload(&m->place, m->rt, &m->net, &m->weights, desc->progress, desc->progress_user, &why)) ==
        HYBRID_OK)
        return r;
    hyb_place_free(&m->place, m->rt);
    if (r == HYBRID_ERROR_CANCELLED) return hyb_fail(error, r, "%s", why.message);
    hyb_log(m->rt, HYBRID_LOG_WARN, "the model runs on the CPU: %s", why.message);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_model_load,
           (hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model, hybrid_error *error),
           (runtime, desc, model, error))
{
    hybrid_model *m = NULL;
    hybrid_result r;
    if (model) *model = NULL;
    if (!model && desc) {
        const hybrid_source source = hyb_model_source(desc);
        hyb_source_close(&source, 0);
    }
    if (!model || !desc)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_model_load: %s is NULL", model ? "desc" : "model");
    r = hyb_model_create(runtime, desc, false, &m, error);
    if (!r && !hyb_report(desc->progress, desc->progress_user, 0))
        r = hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    if (!r) r = hyb_weights_read(m->rt, m->gguf, &m->weights, desc->progress, desc->progress_user, error);
    if (!r) r = hyb_model_upload(m, desc, error);
    if (!r && desc->repack)
        r = hyb_repack_weights(&m->repacked, m->rt, &m->place, &m->net, &m->weights, desc->progress,
                               desc->progress_user, error);
    if (!r && !hyb_report(desc->progress, desc->progress_user, 1))
        r = hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    if (r) {
        hybrid_model_destroy(m);
        return r;
    }
    hyb_log(m->rt, HYBRID_LOG_INFO, "loaded a %s model: %d layers, %d wide, %d tokens, kernels for %s",
            m->hp.arch->name, m->hp.n_layer, m->hp.n_embd, m->hp.n_vocab, hyb_isa_name(m->rt->isa));
    *model = m;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_model_describe, (const hybrid_model *model, hybrid_model_info *info), (model, info))
{
    hybrid_string name;
    size_t i;
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (!model) return;
    snprintf(info->architecture, sizeof info->architecture, "%s", model->hp.arch->name);
    if (hybrid_gguf_get_string(model->gguf, "general.name", &name)) {
        size_t n = HYB_MIN(name.size, sizeof info->name - 1);
        while (n && n < name.size && ((unsigned char)name.data[n] & 0xC0) == 0x80) n--; /* not inside of a character */
        for (i = 0; i < n; i++)
            info->name[i] = (unsigned char)name.data[i] < 32 || name.data[i] == 127 ? '?' : name.data[i];
    }
    for (i = 0; i < hybrid_gguf_tensor_count(model->gguf); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(model->gguf, i);
        if (hyb_unused_training(model->gguf, t->name)) continue;
        info->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        info->n_bytes += t->size;
    }
    info->repacked_bytes = model->repacked.bytes;
    info->n_vocab = model->hp.n_vocab;
    info->n_ctx_train = model->hp.n_ctx_train;
    info->n_embd = model->hp.n_embd;
    info->n_layer = model->hp.n_layer;
    info->n_head = model->hp.wkv_head_size ? model->hp.n_embd / model->hp.wkv_head_size : model->hp.n_head;
    info->n_head_kv = model->hp.n_head_kv;
    info->head_dim = model->hp.wkv_head_size ? model->hp.wkv_head_size : model->hp.head_dim_k;
    info->n_ff = model->hp.n_ff;
    info->is_recurrent = hyb_net_recurs(&model->hp);
    info->is_encoder = (model->hp.arch->has & HYB_HAS_BOTH_WAYS) != 0;
    info->n_expert = model->hp.n_expert;
    info->n_expert_used = model->hp.n_expert_used;
    if (model->place.gpu) {
        snprintf(info->device, sizeof info->device, "%s", hybrid_runtime_device(model->rt));
        info->n_layer_device = model->hp.n_layer - model->place.first;
        info->device_bytes = model->place.bytes;
    }
#ifndef HYBRID_NO_TEXT
    info->has_template = model->chat != NULL;
#endif
}

HYBRID_API const hybrid_gguf *hybrid_model_gguf(const hybrid_model *model) { return model ? model->gguf : NULL; }
HYBRID_API hybrid_runtime *hybrid_model_runtime(const hybrid_model *model) { return model ? model->rt : NULL; }
#endif
