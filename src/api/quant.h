/* ---- types of tensors: names, sizes, encode, decode ---------------------------------------------------------------- */

/* The numbers are those of the GGUF format. */
typedef enum hybrid_type {
    HYBRID_TYPE_F32 = 0, HYBRID_TYPE_F16 = 1, HYBRID_TYPE_Q4_0 = 2, HYBRID_TYPE_Q4_1 = 3, HYBRID_TYPE_Q5_0 = 6, HYBRID_TYPE_Q5_1 = 7,
    HYBRID_TYPE_Q8_0 = 8, HYBRID_TYPE_Q2_K = 10, HYBRID_TYPE_Q3_K = 11, HYBRID_TYPE_Q4_K = 12, HYBRID_TYPE_Q5_K = 13,
    HYBRID_TYPE_Q6_K = 14, HYBRID_TYPE_BF16 = 30,
    HYBRID_TYPE_LAST_ = 64
} hybrid_type;

/* Name ("Q4_K"), elements a block, bytes a block of a type. NULL / 0 for a type that hybrid does not know. Thread-safe. */
HYBRID_API const char *hybrid_type_name(hybrid_type type);
HYBRID_API size_t hybrid_type_block_size(hybrid_type type);
HYBRID_API size_t hybrid_type_block_bytes(hybrid_type type);
/* Bytes of n elements; 0 when the type is unknown or n is no multiple of the block. */
HYBRID_API size_t hybrid_type_row_bytes(hybrid_type type, size_t n);

/* n values (a multiple of the type's block size) from blocks to floats and back. Bit-exact to the GGUF reference decoder.
 * HYBRID_ERROR_INVALID for an unknown type or a wrong n. importance (n values >= 0, or NULL) weighs the error of each value when
 * encoding. Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n);
HYBRID_API hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n, const float *importance);
