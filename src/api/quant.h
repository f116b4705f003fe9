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

/* n values (a multiple of the type's block size) from blocks to floats, bit-exact to the GGUF reference decoder. blocks is 2-byte
 * aligned (the float types: any address). HYBRID_ERROR_INVALID for an unknown type, a wrong n, NULL. Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n);

/* And back: hybrid_type_row_bytes(type, n) bytes are written. The block types search for the scales that make the sum of
 * importance[i] * (error of value i)^2 small; importance is n finite values >= 0, or NULL for all equal. The result depends on the
 * arguments only, not on the machine or the compiler. Values beyond the range of a type's scales (65504 times its steps) become the
 * largest that it can hold; in F16 and BF16 they become infinite, as IEEE 754 rounds them.
 * HYBRID_ERROR_INVALID as above, or for a bad importance: nothing is written. HYBRID_ERROR_NUMERIC: a value is NaN or infinite, which
 * blocks cannot hold; all is written, and the blocks with such values decode to NaN. (The float types keep NaN and infinity: HYBRID_OK.)
 * Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n, const float *importance);
