/* ---- models: load, describe -------------------------------------------------------------------------------------- */
#ifndef HYB_API_MODEL_H
#define HYB_API_MODEL_H
#ifndef HYBRID_NO_TEXT
    #include "tokenizer.h"
    #include "chat.h"
#endif

typedef struct hybrid_model hybrid_model;

typedef struct hybrid_model_desc {
    /* The GGUF file: its path (UTF-8), or another source: data (must outlive the model; used in place, when its address
     * is a multiple of 8), a reader, or parts: all files of a model that was split, in any order (hybrid_gguf_open). Of
     * files that lie beside each other under their names, "NAME-00001-of-00003.gguf", the path of one is enough.
     * Exactly one of them; path and source.path are the same. */
    const char *path;
    hybrid_source source;
    /* A path is mapped and its pages are shared with other processes (the file must stay as it is while the model
     * lives); true reads it into memory instead. A reader is always read.
     * Loading then takes as long as reading does. On Linux the copy lies in pages of 2 MB, where the system has them,
     * and a token takes a tenth less time (measured with 800 MB of weights). */
    bool no_map;
    /* True keeps all weights as F32 in own memory (4 bytes a value, whatever the file's types), so that a trainer can
     * change them (hybrid_trainer_create): all of them on the GPU, where one computes and has room, or on the host. */
    bool trainable;
    /* Called now and then while loading; fraction 0..1. Return false to cancel (HYBRID_ERROR_CANCELLED). */
    hybrid_progress_fn progress;
    void *progress_user;
    /* With a GPU: room for contexts of so many positions in all is kept beside the weights; 0: as
     * hybrid_context_desc.n_ctx. Layers that then do not fit run on the CPU. */
    int32_t device_n_ctx;
    /* Generation is faster with the matrices laid out in another order, where the processor rather than the memory is
     * the limit (AVX2; Q4_0, Q4_K).
     * True makes such a copy while loading, beside the file's own blocks, which prompts go on reading: as many bytes
     * again for the matrices of these types that run on the CPU, without those of experts; hybrid_plan counts them.
     * Results are the same to the bit. Where the kernels have no such layout nothing is made, and the log says so. */
    bool repack;
} hybrid_model_desc;

/* Loads a model. runtime NULL: one of its own, with default settings. On failure *model is NULL and nothing is left
 * behind.
 *
 * A model that is loaded computes with every tensor of its file and with every key of its architecture that changes
 * logits; else it is refused (HYBRID_ERROR_UNSUPPORTED) by the name of the tensor or key. What may be left out, since
 * it changes nothing, is this; the log (INFO) names the tensors:
 *   tensors   without values; factors of rope that are all 1; frequencies of rope that are those of the keys
 *             (attn_rot_embd, rotary_emb.inv_freq); square masks and their single value that were kept from training
 *             (attn.bias, attn.masked_bias); the half of a model that sees (v.*, mm.*) beside keys <arch>.vision.*;
 *             what a checkpoint of a trainer holds beside the model (hybrid.*)
 *   keys      vocab_size, tensor_data_layout, rope.scaling.finetuned, classifier.output_labels, the
 *             epsilon of the other kind of norm, numbers of experts where there are none, vision.* and the like; and
 *             keys of other families at the value at which they change nothing (logit_scale 1, attention.causal true)
 * Unknown keys of the architecture are refused when they are of a group that shapes the computation (attention.*,
 * rope.*, expert*, ssm.*, *scale*, *norm*, ...); others are warned of in the log and taken for notes. Vectors (norms,
 * biases) may be F32, F16 or BF16; the latter are converted while loading.
 * A model is immutable: any number of contexts and threads may use it at a time. */
HYBRID_API hybrid_result hybrid_model_load(hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model,
                                           hybrid_error *error);

/* Contexts and sessions of the model must be destroyed before it. */
HYBRID_API void hybrid_model_destroy(hybrid_model *model);

typedef struct hybrid_model_info {
    char architecture[32];   /* "llama", "qwen2", ... */
    char name[64];           /* general.name, cut to fit, without control characters */
    uint64_t n_params;       /* values in all tensors */
    uint64_t n_bytes;        /* their bytes */
    uint64_t repacked_bytes; /* of the copy that hybrid_model_desc.repack asked for */
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff;
    /* of a mixture of experts: how many a layer has, and how many a token uses; 0: none */
    int32_t n_expert, n_expert_used;
    bool is_recurrent;      /* carries a state from token to token: see hybrid_seq_back */
    bool is_encoder;        /* looks at later tokens, too: for hybrid_embed; it writes no text */
    bool has_template;      /* carries a chat template, or has the tokens of ChatML; false with HYBRID_NO_TEXT */
    char device[96];        /* "NVIDIA H200": the GPU that holds weights; "" for none */
    int32_t n_layer_device; /* layers that run there */
    uint64_t device_bytes;  /* of weights there */
} hybrid_model_info;

HYBRID_API void hybrid_model_describe(const hybrid_model *model, hybrid_model_info *info);

/* Parts of the model, valid as long as it. The template is that of the file, or ChatML where the
 * file has none but the vocabulary has its tokens; else NULL. */
HYBRID_API const hybrid_gguf *hybrid_model_gguf(const hybrid_model *model);
HYBRID_API hybrid_runtime *hybrid_model_runtime(const hybrid_model *model);
#ifndef HYBRID_NO_TEXT
HYBRID_API const hybrid_tokenizer *hybrid_model_tokenizer(const hybrid_model *model);
HYBRID_API const hybrid_template *hybrid_model_template(const hybrid_model *model);
#endif
#endif
