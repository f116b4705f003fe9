/* ---- types of tensors: names, sizes, encode, decode -------------------------------------------------------------- */
#ifndef HYB_API_QUANT_H
#define HYB_API_QUANT_H
#include "runtime.h"

/* The numbers are those of the GGUF format. */
typedef enum hybrid_type {
    HYBRID_TYPE_F32 = 0,
    HYBRID_TYPE_F16 = 1,
    HYBRID_TYPE_Q4_0 = 2,
    HYBRID_TYPE_Q4_1 = 3,
    HYBRID_TYPE_Q5_0 = 6,
    HYBRID_TYPE_Q5_1 = 7,
    HYBRID_TYPE_Q8_0 = 8,
    HYBRID_TYPE_Q2_K = 10,
    HYBRID_TYPE_Q3_K = 11,
    HYBRID_TYPE_Q4_K = 12,
    HYBRID_TYPE_Q5_K = 13,
    HYBRID_TYPE_Q6_K = 14,
    HYBRID_TYPE_IQ4_NL = 20,
    HYBRID_TYPE_IQ4_XS = 23,
    HYBRID_TYPE_BF16 = 30,
    HYBRID_TYPE_LAST_ = 64
} hybrid_type;

/* Name ("Q4_K"), elements a block, bytes a block of a type. NULL / 0 for a type that hybrid does not know.
 * Thread-safe. */
HYBRID_API const char *hybrid_type_name(hybrid_type type);
HYBRID_API size_t hybrid_type_block_size(hybrid_type type);
HYBRID_API size_t hybrid_type_block_bytes(hybrid_type type);
/* Bytes of n elements; 0 when the type is unknown or n is not a multiple of the block. */
HYBRID_API size_t hybrid_type_row_bytes(hybrid_type type, size_t n);

/* n values (a multiple of the type's block size) from blocks to floats, bit-exact to the GGUF reference decoder. blocks
 * is 2-byte aligned (the float types: any address). HYBRID_ERROR_INVALID for an unknown type, a wrong n, NULL.
 * Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n,
                                           hybrid_error *error);

/* And back: hybrid_type_row_bytes(type, n) bytes are written. The block types search for the scales that make the sum
 * of importance[i] * (error of value i)^2 small; importance is n finite values >= 0, or NULL for all equal. The result
 * depends on the arguments only, not on the machine or the compiler. Values beyond the range of a type's scales (65504
 * times its steps) become the largest that it can hold; in F16 and BF16 they become infinite, as IEEE 754 rounds them.
 * HYBRID_ERROR_INVALID as above, or for a bad importance: nothing is written. HYBRID_ERROR_NUMERIC: a value is NaN or
 * infinite, which blocks cannot hold (error->offset: which one); all is written, and the blocks with such values decode
 * to NaN. (The float types
 * keep NaN and infinity: HYBRID_OK.) Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n,
                                         const float *importance, hybrid_error *error);

/* n_rows rows of `row` values each, from one type to another (as hybrid_dequantize and hybrid_quantize do it), on all
 * threads of runtime (NULL: a default one). importance: `row` values, the same for every row, or NULL. The result does
 * not depend on the threads.
 * HYBRID_ERROR_INVALID, _MEMORY, _NUMERIC (all is written, as for hybrid_quantize). */
HYBRID_API hybrid_result hybrid_convert(hybrid_runtime *runtime, hybrid_type from, const void *src, hybrid_type to,
                                        void *dst, size_t n_rows, size_t row, const float *importance,
                                        hybrid_error *error);

/* A mix: how a whole model is quantized. The number is that of GGUF's key general.file_type. */
typedef enum hybrid_mix {
    HYBRID_MIX_F32 = 0,
    HYBRID_MIX_F16 = 1,
    HYBRID_MIX_Q4_0 = 2,
    HYBRID_MIX_Q4_1 = 3,
    HYBRID_MIX_Q8_0 = 7,
    HYBRID_MIX_Q5_0 = 8,
    HYBRID_MIX_Q5_1 = 9,
    HYBRID_MIX_Q2_K = 10,
    HYBRID_MIX_Q3_K_S = 11,
    HYBRID_MIX_Q3_K_M = 12,
    HYBRID_MIX_Q3_K_L = 13,
    HYBRID_MIX_Q4_K_S = 14,
    HYBRID_MIX_Q4_K_M = 15,
    HYBRID_MIX_Q5_K_S = 16,
    HYBRID_MIX_Q5_K_M = 17,
    HYBRID_MIX_Q6_K = 18,
    HYBRID_MIX_BF16 = 32
} hybrid_mix;

/* "Q4_K_M" (NULL for an unknown number), and back, in any case; "Q4_K" means Q4_K_M, and so for Q3_K and Q5_K.
 * hybrid_mix_at: all mixes, from the largest files to the smallest; false beyond the last. Thread-safe. */
HYBRID_API const char *hybrid_mix_name(hybrid_mix mix);
HYBRID_API bool hybrid_mix_find(const char *name, hybrid_mix *mix);
HYBRID_API bool hybrid_mix_at(size_t i, hybrid_mix *mix);

/* What the mixes ask of a model: GGUF's keys of the same names. */
typedef struct hybrid_mix_model {
    const char *architecture; /* "llama" */
    int32_t n_layer;          /* block_count */
    int32_t n_expert;         /* 0 or 1: none */
    int32_t n_head, n_head_kv;
    bool tied_output; /* there is no tensor "output.weight": the token embedding makes the logits */
    /* n_layer, where the key is an array (0: no attention in this layer); NULL: it is not one */
    const int32_t *n_head_kv_of;
} hybrid_mix_model;

/* The type that a tensor with GGUF's name and sizes (ne[0] contiguous) gets in a mix; `now` for one that a mix leaves
 * as it is (norms, biases, routers, positions). A row that the blocks of the wanted type do not divide gets another:
 * Q2_K, Q3_K: Q4_0; Q4_K: Q5_0; Q5_K: Q5_1;
 * Q6_K: Q8_0; and F16 when 32 does not divide it either. The same types as llama.cpp gives. Thread-safe. */
HYBRID_API hybrid_type hybrid_quantize_type_for(hybrid_mix mix, const hybrid_mix_model *model, const char *name,
                                                int32_t n_dims, const uint64_t *ne, hybrid_type now);
#endif
