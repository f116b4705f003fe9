/* quant/types: the table of all types, and the public functions over it. A new type is a file with two functions,
 * and a line here. */
#ifndef HYB_QUANT_TYPES_C
#define HYB_QUANT_TYPES_C
#include "../api/quant.h"
#include "../core/base.c"
#include "../core/fpenv.c"
#include "floats.c"
#include "legacy.c"
#include "k_affine.c"
#include "k_symmetric.c"

typedef struct hyb_type_traits {
    const char *name;
    size_t block_size, block_bytes; /* values, bytes */
    void (*dequantize_row)(const void *blocks, float *values, size_t n);
    void (*quantize_row)(const float *values, void *blocks, size_t n, const float *importance);
} hyb_type_traits;

/* NULL for a number that hybrid does not know. n of the two functions must be a multiple of block_size; blocks
 * 2-byte aligned. */
static const hyb_type_traits *hyb_type_info(hybrid_type type)
{
#define HYB_TYPE(id, block_size, block_bytes, suffix) \
    case HYBRID_TYPE_##id: { \
        static const hyb_type_traits traits = { #id, block_size, block_bytes, hyb_dequantize_##suffix, \
                                                hyb_quantize_##suffix }; \
        return &traits; \
    }
#define HYB_BLOCK_TYPE(id, block_size, suffix) HYB_TYPE(id, block_size, sizeof(hyb_block_##suffix), suffix)
    switch ((int)type) {
        HYB_TYPE(F32, 1, 4, f32)
        HYB_TYPE(F16, 1, 2, f16)
        HYB_TYPE(BF16, 1, 2, bf16)
        HYB_BLOCK_TYPE(Q4_0, HYB_QK, q4_0)
        HYB_BLOCK_TYPE(Q4_1, HYB_QK, q4_1)
        HYB_BLOCK_TYPE(Q5_0, HYB_QK, q5_0)
        HYB_BLOCK_TYPE(Q5_1, HYB_QK, q5_1)
        HYB_BLOCK_TYPE(Q8_0, HYB_QK, q8_0)
        HYB_BLOCK_TYPE(Q2_K, HYB_QK_K, q2_K)
        HYB_BLOCK_TYPE(Q3_K, HYB_QK_K, q3_K)
        HYB_BLOCK_TYPE(Q4_K, HYB_QK_K, q4_K)
        HYB_BLOCK_TYPE(Q5_K, HYB_QK_K, q5_K)
        HYB_BLOCK_TYPE(Q6_K, HYB_QK_K, q6_K)
    }
#undef HYB_BLOCK_TYPE
#undef HYB_TYPE
    return NULL;
}

HYBRID_API const char *hybrid_type_name(hybrid_type type)
{
    const hyb_type_traits *t = hyb_type_info(type);
    return t ? t->name : NULL;
}
HYBRID_API size_t hybrid_type_block_size(hybrid_type type)
{
    const hyb_type_traits *t = hyb_type_info(type);
    return t ? t->block_size : 0;
}
HYBRID_API size_t hybrid_type_block_bytes(hybrid_type type)
{
    const hyb_type_traits *t = hyb_type_info(type);
    return t ? t->block_bytes : 0;
}
HYBRID_API size_t hybrid_type_row_bytes(hybrid_type type, size_t n)
{
    const hyb_type_traits *t = hyb_type_info(type);
    size_t bytes;
    if (!t || n % t->block_size || !hyb_mul_size(n / t->block_size, t->block_bytes, &bytes)) return 0;
    return bytes;
}

/* What both public functions ask of their arguments. Blocks hold 16-bit numbers: an odd address would be a crash on
 * some machines. */
static bool hyb_quant_arguments(const hyb_type_traits *t, const void *blocks, const float *values, size_t n)
{
    return t && n % t->block_size == 0 &&
           (n == 0 || (blocks && values && (t->block_size == 1 || (uintptr_t)blocks % 2 == 0)));
}

HYB_BORDER(hybrid_result, hybrid_dequantize, (hybrid_type type, const void *blocks, float *values, size_t n),
           (type, blocks, values, n))
{
    const hyb_type_traits *t = hyb_type_info(type);
    if (HYB_BIG_ENDIAN) return HYBRID_ERROR_UNSUPPORTED;
    if (!hyb_quant_arguments(t, blocks, values, n)) return HYBRID_ERROR_INVALID;
    if (n) t->dequantize_row(blocks, values, n);
    return HYBRID_OK;
}

static bool hyb_all_finite(const float *values, size_t n)
{
    uint32_t worst = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        uint32_t a = hyb_f32_bits(values[i]) & 0x7FFFFFFFu;
        worst = HYB_MAX(worst, a);
    }
    return worst < 0x7F800000u;
}

HYB_BORDER(hybrid_result, hybrid_quantize,
           (hybrid_type type, const float *values, void *blocks, size_t n, const float *importance),
           (type, values, blocks, n, importance))
{
    const hyb_type_traits *t = hyb_type_info(type);
    size_t i;
    if (HYB_BIG_ENDIAN) return HYBRID_ERROR_UNSUPPORTED;
    if (!hyb_quant_arguments(t, blocks, values, n)) return HYBRID_ERROR_INVALID;
    if (importance) {
        if (!hyb_all_finite(importance, n)) return HYBRID_ERROR_INVALID;
        for (i = 0; i < n; i++)
            if (importance[i] < 0) return HYBRID_ERROR_INVALID;
    }
    if (n) t->quantize_row(values, blocks, n, importance);
    return t->block_size == 1 || hyb_all_finite(values, n) ? HYBRID_OK : HYBRID_ERROR_NUMERIC;
}
#endif
