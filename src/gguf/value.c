/* gguf/value: the 13 types of metadata values and their items. */
#ifndef HYB_GGUF_VALUE_C
#define HYB_GGUF_VALUE_C
#include "../api/gguf.h"
#include "../core/fpenv.c"
#include "../core/number.c"

#define HYB_GGUF_N_TYPES 13

HYBRID_API const char *hybrid_gguf_type_name(hybrid_gguf_type type)
{
    static const char *const names[HYB_GGUF_N_TYPES] = { "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                         "bool", "string", "array", "u64", "i64", "f64" };
    return (unsigned)type < HYB_GGUF_N_TYPES ? names[type] : NULL;
}

/* The names of the numbers that GGUF has given; those that hybrid knows are in the list of types. */
HYBRID_API const char *hybrid_gguf_tensor_type_name(uint32_t type_id)
{
    const char *known = type_id < HYBRID_TYPE_LAST_ ? hybrid_type_name((hybrid_type)type_id) : NULL;
    static const char *const names[] = {
        "F32", "F16", "Q4_0", "Q4_1", NULL, NULL, "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
        "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16",
        "I32", "I64", "F64", "IQ1_M", "BF16", NULL, NULL, NULL, "TQ1_0", "TQ2_0", NULL, NULL, NULL, "MXFP4", "NVFP4",
        "Q1_0"
    };
    if (known) return known;
    return type_id < HYB_COUNT(names) && names[type_id] ? names[type_id] : "unknown";
}

HYB_INLINE void hyb_gguf_store_u64(void *p, uint64_t v) { memcpy(p, &v, 8); }

/* Bytes of a number; 0 for strings and arrays. */
static size_t hyb_gguf_number_size(hybrid_gguf_type type)
{
    static const unsigned char sizes[HYB_GGUF_N_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return sizes[type];
}

/* The fewest bytes that an item of an array takes: an empty string has its size, an empty array its header. */
static size_t hyb_gguf_item_min_size(hybrid_gguf_type type)
{
    return type == HYBRID_GGUF_STRING ? 8 : type == HYBRID_GGUF_ARRAY ? 12 : hyb_gguf_number_size(type);
}

static bool hyb_gguf_load_i64(hybrid_gguf_type type, const unsigned char *p, int64_t *out)
{
    uint64_t u;
    switch (type) {
    case HYBRID_GGUF_U8: *out = *p; return true;
    case HYBRID_GGUF_I8: *out = (int8_t)*p; return true;
    case HYBRID_GGUF_U16: *out = hyb_load_u16(p); return true;
    case HYBRID_GGUF_I16: *out = (int16_t)hyb_load_u16(p); return true;
    case HYBRID_GGUF_U32: *out = hyb_load_u32(p); return true;
    case HYBRID_GGUF_I32: *out = (int32_t)hyb_load_u32(p); return true;
    case HYBRID_GGUF_BOOL: *out = *p != 0; return true;
    case HYBRID_GGUF_I64: *out = (int64_t)hyb_load_u64(p); return true;
    case HYBRID_GGUF_U64:
        if ((u = hyb_load_u64(p)) > INT64_MAX) return false;
        *out = (int64_t)u;
        return true;
    case HYBRID_GGUF_F32:
    case HYBRID_GGUF_F64:
    case HYBRID_GGUF_STRING:
    case HYBRID_GGUF_ARRAY: break;
    }
    return false;
}

static bool hyb_gguf_load_f64(hybrid_gguf_type type, const unsigned char *p, double *out)
{
    int64_t i;
    if (type == HYBRID_GGUF_F32)
        *out = hyb_load_f32(p);
    else if (type == HYBRID_GGUF_F64)
        memcpy(out, p, 8);
    else if (type == HYBRID_GGUF_U64)
        *out = (double)hyb_load_u64(p);
    else if (hyb_gguf_load_i64(type, p, &i))
        *out = (double)i;
    else
        return false;
    return true;
}

/* The bytes of number i of a value; NULL when there is none. */
static const unsigned char *hyb_gguf_number_at(const hybrid_gguf_value *value, uint64_t i)
{
    size_t size;
    if (!value || !value->data || (unsigned)value->item_type >= HYB_GGUF_N_TYPES || i >= value->count) return NULL;
    size = hyb_gguf_number_size(value->item_type);
    return size ? (const unsigned char *)value->data + i * size : NULL;
}

HYB_BORDER(int64_t, hybrid_gguf_item_i64, (const hybrid_gguf_value *value, uint64_t i), (value, i))
{
    const unsigned char *p = hyb_gguf_number_at(value, i);
    int64_t out = 0;
    if (p) hyb_gguf_load_i64(value->item_type, p, &out);
    return out;
}

HYB_BORDER(double, hybrid_gguf_item_f64, (const hybrid_gguf_value *value, uint64_t i), (value, i))
{
    const unsigned char *p = hyb_gguf_number_at(value, i);
    double out = 0;
    if (p) hyb_gguf_load_f64(value->item_type, p, &out);
    return out;
}

HYB_BORDER(hybrid_string, hybrid_gguf_item_string, (const hybrid_gguf_value *value, uint64_t i), (value, i))
{
    hybrid_string s = { NULL, 0 };
    if (!value || value->item_type != HYBRID_GGUF_STRING || i >= value->count) return s;
    if (value->type == HYBRID_GGUF_STRING) {
        s.data = (const char *)value->data;
        s.size = (size_t)value->size;
    } else if (value->index) {
        s.data = (const char *)value->data + value->index[i] + 8;
        s.size = (size_t)hyb_load_u64(s.data - 8);
    }
    return s;
}

/* The index of n arrays: n offsets from data, then n distances from this index to that of the item; see
 * hyb_gguf_scan_array. */
HYB_BORDER(bool, hybrid_gguf_item_array, (const hybrid_gguf_value *value, uint64_t i, hybrid_gguf_value *item),
           (value, i, item))
{
    const unsigned char *p;
    uint64_t end;
    if (!value || !item || value->type != HYBRID_GGUF_ARRAY || value->item_type != HYBRID_GGUF_ARRAY ||
        i >= value->count || !value->index)
        return false;
    p = (const unsigned char *)value->data + value->index[i];
    end = i + 1 < value->count ? value->index[i + 1] : value->size;
    item->type = HYBRID_GGUF_ARRAY;
    item->item_type = (hybrid_gguf_type)hyb_load_u32(p);
    item->count = hyb_load_u64(p + 4);
    item->size = end - value->index[i] - 12;
    item->index = hyb_gguf_number_size(item->item_type) ? NULL : value->index + value->index[value->count + i];
    item->data = p + 12;
    return true;
}

static bool hyb_string_ends(hybrid_string s, const char *text)
{
    const size_t n = strlen(text);
    return s.size >= n && !memcmp(s.data + s.size - n, text, n);
}
#endif
