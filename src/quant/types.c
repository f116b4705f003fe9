/* quant/types: the table of all types, made from types.inc, and the public functions over it. */
#ifndef HYB_QUANT_TYPES_C
#define HYB_QUANT_TYPES_C
#include "../api/quant.h"
#include "../core/base.c"
#include "../core/fpenv.c"
#include "types.inc"
#include "floats.c"
#include "legacy.c"
#include "k_affine.c"
#include "k_symmetric.c"
#include "iq4.c"

typedef void (*hyb_dequantize_fn)(const void *blocks, float *values, size_t n);
typedef void (*hyb_quantize_fn)(const float *values, void *blocks, size_t n, const float *importance);
typedef struct hyb_type_traits {
    const char *name;
    size_t block_size, block_bytes; /* values, bytes */
    hyb_dequantize_fn dequantize_row;
    hyb_quantize_fn quantize_row;
} hyb_type_traits;

/* What the list says is what the compiler sees: the numbers of the enumeration, the sizes of the structures. */
#define HYB_TYPE_IS(id, number, values, bytes, suffix) \
    typedef char hyb_number_of_##suffix[(int)HYBRID_TYPE_##id == (number) ? 1 : -1];
HYB_TYPES(HYB_TYPE_IS)
#undef HYB_TYPE_IS
#define HYB_TYPE_IS(id, number, values, bytes, suffix) \
    typedef char hyb_size_of_##suffix[sizeof(hyb_block_##suffix) == (bytes) && HYB_QK_K % (values) == 0 ? 1 : -1];
HYB_BLOCK_TYPES(HYB_TYPE_IS)
#undef HYB_TYPE_IS

/* NULL for a number that hybrid does not know. n of the two functions must be a multiple of block_size; blocks
 * 2-byte aligned. */
static const hyb_type_traits *hyb_type_info(hybrid_type type)
{
#define HYB_TYPE_ROW(id, number, values, bytes, suffix) \
    case HYBRID_TYPE_##id: { \
        static const hyb_type_traits traits = { #id, values, bytes, hyb_dequantize_##suffix, hyb_quantize_##suffix }; \
        return &traits; \
    }
    switch ((int)type) {
        HYB_TYPES(HYB_TYPE_ROW)
    }
#undef HYB_TYPE_ROW
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
static hybrid_result hyb_quant_arguments(const char *function, hybrid_type type, const void *blocks,
                                         const float *values, size_t n, hybrid_error *error)
{
    const hyb_type_traits *t = hyb_type_info(type);
    if (HYB_BIG_ENDIAN)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: this machine is big-endian, blocks are not", function);
    if (!t) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %d is not a type that hybrid knows", function, (int)type);
    if (n % t->block_size)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %llu values do not divide into blocks of %s, which hold %llu",
                        function, (unsigned long long)n, t->name, (unsigned long long)t->block_size);
    if (n && (!blocks || !values))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %s is NULL", function, blocks ? "values" : "blocks");
    if (n && t->block_size > 1 && (uintptr_t)blocks % 2)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: blocks begin at an odd address, must be 2-byte aligned",
                        function);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_dequantize,
           (hybrid_type type, const void *blocks, float *values, size_t n, hybrid_error *error),
           (type, blocks, values, n, error))
{
    const hybrid_result r = hyb_quant_arguments("hybrid_dequantize", type, blocks, values, n, error);
    if (!r && n) hyb_type_info(type)->dequantize_row(blocks, values, n);
    return r;
}

/* The first of n values that is NaN or infinite; n when all are finite. */
static size_t hyb_not_finite(const float *values, size_t n)
{
    uint32_t worst = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        uint32_t a = hyb_f32_bits(values[i]) & 0x7FFFFFFFu;
        worst = HYB_MAX(worst, a);
    }
    if (worst < 0x7F800000u) return n;
    for (i = 0; (hyb_f32_bits(values[i]) & 0x7FFFFFFFu) < 0x7F800000u; i++) {}
    return i;
}

HYB_BORDER(hybrid_result, hybrid_quantize,
           (hybrid_type type, const float *values, void *blocks, size_t n, const float *importance,
            hybrid_error *error),
           (type, values, blocks, n, importance, error))
{
    const hybrid_result r = hyb_quant_arguments("hybrid_quantize", type, blocks, values, n, error);
    size_t i, bad;
    if (r) return r;
    for (i = 0; importance && i < n; i++)
        if (!(importance[i] >= 0 && importance[i] < INFINITY))
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_quantize: importance %llu is %g, must be finite and not negative",
                            (unsigned long long)i, (double)importance[i]);
    if (!n) return HYBRID_OK;
    hyb_type_info(type)->quantize_row(values, blocks, n, importance);
    if (hyb_type_info(type)->block_size == 1 || (bad = hyb_not_finite(values, n)) == n) return HYBRID_OK;
    return hyb_fail_at(error, HYBRID_ERROR_NUMERIC, bad, "value %llu is NaN or infinite, which %s cannot hold",
                       (unsigned long long)bad, hyb_type_info(type)->name);
}
#endif
