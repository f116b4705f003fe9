/* ---- adapters: low-rank changes of a model's matrices (LoRA, Hu et al. 2021) ---------------------------------------
 *
 * An adapter adds to a matrix W (out, k) of a model the product of two narrow ones:
 *
 *     y = x W^T + scale * (x A^T) B^T        A (rank, k), B (out, rank), scale = alpha / rank
 *
 * (of matrices of experts one A and one B for each expert: of those that a token is sent to)
 *
 * so the model stays as it is, in whatever type its file has, and the adapter is some megabytes that can be trained,
 * saved, put on and taken off. Each sequence of a batch may wear its own, or several, or none:
 *
 *     hybrid_source file = { 0 };
 *     file.path = "pirate.gguf";
 *     hybrid_adapter_load(model, &file, &pirate, &error);
 *     hybrid_seq_set_adapters(context, 3, &pirate, NULL, 1, &error);
 *
 * Equal results: a sequence has the same logits, to the bit, whatever adapters the others in its batch wear. A sequence
 * with a new adapter, whose B are 0, has the values of one without. */
#ifndef HYB_API_ADAPTER_H
#define HYB_API_ADAPTER_H
#include "context.h"

typedef struct hybrid_adapter hybrid_adapter;

#define HYBRID_ADAPTER_MAX_RANK 1024
#define HYBRID_SEQ_MAX_ADAPTERS 8

/* Zero is a sensible default for every field. */
typedef struct hybrid_adapter_desc {
    int32_t rank; /* of every pair A, B; 0: 8; at most HYBRID_ADAPTER_MAX_RANK */
    float alpha;  /* scale is alpha / rank; 0: rank, so that scale is 1 */
    /* Which matrices of the layers: "attn_q" stands for blk.0.attn_q.weight, blk.1.attn_q.weight, ...; "all" for every
     * matrix of the layers, routers of experts aside. Each name must find one at least. A matrix that holds several
     * (attn_qkv, or gate and up in ffn_up) counts as one. Those of all experts (ffn_gate_exps, ffn_up_exps,
     * ffn_down_exps) get an A and a B for each expert: of rank 8 the three of Qwen3-30B-A3B have 415 million values.
     * NULL: attn_q and attn_v (or attn_qkv, where they are one), of RWKV time_mix_receptance and time_mix_value.
     * Embeddings and heads cannot be changed. */
    const char *const *targets;
    size_t n_targets;
    uint64_t seed; /* the same seed gives the same A, on every machine */
} hybrid_adapter_desc;

/* Makes an adapter that changes nothing yet: A as PEFT makes it (uniform between -1 and 1 over sqrt(k)), B zero. desc
 * may be NULL. It belongs to the model, which must outlive it.
 * HYBRID_ERROR_INVALID names the field, or the matrix that cannot be changed; HYBRID_ERROR_NOT_FOUND: no matrix has
 * that name; HYBRID_ERROR_MEMORY, or _DEVICE, where the model is on a GPU. */
HYBRID_API hybrid_result hybrid_adapter_create(hybrid_model *model, const hybrid_adapter_desc *desc,
                                               hybrid_adapter **adapter, hybrid_error *error);

/* Reads an adapter in the form of llama.cpp (convert_lora_to_gguf.py makes it of PEFT's): a GGUF whose general.type is
 * "adapter", adapter.type "lora", with adapter.lora.alpha and tensors NAME.lora_a (k, rank) and NAME.lora_b (rank, out)
 * for each matrix NAME of the model, of those of all experts (k, rank, n_expert) and (rank, out, n_expert), in F32,
 * F16, BF16 or a block type (they become F32). Without alpha, or with 0, scale is 1. A reader is closed.
 * HYBRID_ERROR_FORMAT names the tensor: not an adapter, or another model's, or damaged. _UNSUPPORTED: a kind of
 * adapter, or of matrix, that hybrid does not have. _LIMIT: a rank above the maximum. _NUMERIC: a value is not finite.
 * _INVALID, _IO, _MEMORY, _DEVICE. */
HYBRID_API hybrid_result hybrid_adapter_load(hybrid_model *model, const hybrid_source *source, hybrid_adapter **adapter,
                                             hybrid_error *error);

/* Writes the adapter in that form, as F32 (or F16: HYBRID_TYPE_F16), which llama.cpp and hybrid_adapter_load read. As
 * with hybrid_gguf_begin_path, what is at path stays there when this fails.
 * HYBRID_ERROR_INVALID, _NUMERIC (a value is not finite, or too large for F16), _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_adapter_save(const hybrid_adapter *adapter, const char *path, hybrid_type type,
                                             hybrid_error *error);

#ifndef HYBRID_NO_TRAIN
/* Writes the model with adapters in it, as a GGUF that any program runs: every matrix W becomes W plus the sum of its
 * adapters' scale * B A, each times its factor of scales (NULL: 1 each); summed in double and rounded to float once,
 * then stored in the types of a mix, as hybrid_trainer_export does it. HYBRID_MIX_F32 holds it exactly; a mix of few
 * bits rounds away changes that are smaller than its steps, which a model that wears its adapters keeps. It needs
 * memory for some rows, not for the model. The model and the adapters stay as they are.
 * HYBRID_ERROR_INVALID, _LIMIT (more than HYBRID_SEQ_MAX_ADAPTERS), _NUMERIC, _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_adapter_merge(hybrid_model *model, hybrid_adapter *const *adapters, const float *scales,
                                              size_t n, const char *path, hybrid_mix mix, hybrid_error *error);
#endif

/* The type in which sequences on the host read it: F32 (as it is), F16 or Q8_0; a decode step is longer by the bytes
 * that are read, which are 4, 2 and 1 a value. Without this call an adapter is as exact as what it changes: F32 over
 * matrices of F32; F16 over F16 and BF16; over block types, whose products round what they multiply to 8 bits, Q8_0.
 * F16 rounds a value to 11 bits, and keeps those of F16 files; Q8_0 rounds to 8 bits below the largest of 32 values,
 * which changes what an adapter adds by 1 % or so of it. Training, files, merging, GPUs and the matrices of experts
 * have the values themselves in any case. No decode that wears it may be under way. HYBRID_ERROR_INVALID, _MEMORY: it
 * stays as it was. */
HYBRID_API hybrid_result hybrid_adapter_set_type(hybrid_adapter *adapter, hybrid_type type, hybrid_error *error);

/* Gives up the caller's hold. Sequences that wear it, or have tokens that were read with it, keep it: it ends with the
 * last of them. */
HYBRID_API void hybrid_adapter_destroy(hybrid_adapter *adapter);

typedef struct hybrid_adapter_info {
    int32_t rank; /* the largest of its pairs' */
    float alpha;
    size_t n_matrices;     /* that it changes */
    uint64_t n_params;     /* values in all A and B */
    uint64_t bytes;        /* in memory, the copy that sequences read included */
    uint64_t device_bytes; /* on the GPU as well, where the model is on one */
} hybrid_adapter_info;
HYBRID_API void hybrid_adapter_describe(const hybrid_adapter *adapter, hybrid_adapter_info *info);

/* What a sequence wears from its next token on: n adapters (at most HYBRID_SEQ_MAX_ADAPTERS), added up in their order,
 * each times its factor of scales (NULL: 1 each; negative is fine). n 0: none. Tokens that are queued count as next
 * ones; what is in the cache stays as it was written. A copy (hybrid_seq_fork) wears the same. While a decode is under
 * way it is refused. On a GPU, a batch in which a sequence wears adapters goes without CUDA graphs.
 * Memory: rows for the largest rank (and in a mixture of experts for what 128 rows add), which
 * hybrid_context_desc.adapter_rank takes beforehand; else the first adapter of a larger rank takes it here.
 * HYBRID_ERROR_INVALID: an adapter of another model, a factor that is not finite; _LIMIT: too many; _MEMORY,
 * _DEVICE. */
HYBRID_API hybrid_result hybrid_seq_set_adapters(hybrid_context *context, int32_t seq, hybrid_adapter *const *adapters,
                                                 const float *scales, size_t n, hybrid_error *error);
#endif
