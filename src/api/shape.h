/* ---- models from nothing ----------------------------------------------------------------------------------------- */
#ifndef HYB_API_SHAPE_H
#define HYB_API_SHAPE_H
#include "model.h"

/* Zero is a sensible default for every field but the tokenizer. */
typedef struct hybrid_model_shape {
    /* "gpt2": learned positions, LayerNorm, biases, GELU (Radford et al. 2019); "llama": rotations, RMSNorm, SwiGLU
     * (Touvron et al. 2023); NULL: "gpt2" */
    const char *architecture;
    const char *name; /* general.name of the model's file; NULL: "model" */
#ifndef HYBRID_NO_TEXT
    const hybrid_tokenizer *tokenizer; /* byte-level BPE, as hybrid_bpe_train makes it; copied */
#endif
    int32_t n_vocab;   /* tokens, at least the tokenizer's; 0: those, rounded up to a multiple of 64. What the tokenizer
                        * lacks is named [PAD<id>] in the model's file, unused, for programs that want a name for all */
    int32_t n_ctx;     /* positions; 0: 256 */
    int32_t n_embd;    /* width; 0: 384 */
    int32_t n_layer;   /* 0: 6 */
    int32_t n_head;    /* heads of n_embd / n_head values; 0: n_embd / 64, at least 1 */
    int32_t n_head_kv; /* llama: heads of keys and values, a divisor of n_head; 0: n_head */
    int32_t n_ff;     /* width of the feed-forward; 0: gpt2 4 n_embd, llama 8/3 n_embd rounded up to a multiple of 64 */
    bool untied_head; /* llama: a head of its own; else it is the embedding */
    uint64_t seed;    /* the same seed gives the same weights, on every machine */
} hybrid_model_shape;

/* Makes a model with random weights, which a trainer can change: matrices and embeddings about normal with a standard
 * deviation of 0.02, those that add to the residual stream of 0.02 / sqrt(2 n_layer), norms 1, biases 0 (as GPT-2 does
 * it). It is loaded as hybrid_model_load does with desc.trainable. runtime may be NULL.
 * HYBRID_ERROR_INVALID names the size that does not fit the others; HYBRID_ERROR_UNSUPPORTED: the architecture;
 * HYBRID_ERROR_MEMORY. */
HYBRID_API hybrid_result hybrid_model_create(hybrid_runtime *runtime, const hybrid_model_shape *shape,
                                             hybrid_model **model, hybrid_error *error);
#endif
