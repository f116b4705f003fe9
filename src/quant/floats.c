/* quant/floats: the types that are plain numbers. Encoding rounds to nearest even and ignores importance: each value
 * stands alone. */
#ifndef HYB_QUANT_FLOATS_C
#define HYB_QUANT_FLOATS_C
#include "../core/number.c"

static void hyb_dequantize_f32(const void *blocks, float *y, size_t n) { memcpy(y, blocks, n * sizeof *y); }
static void hyb_quantize_f32(const float *x, void *blocks, size_t n, const float *importance)
{
    HYB_UNUSED(importance);
    memcpy(blocks, x, n * sizeof *x);
}

static void hyb_dequantize_f16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hyb_f16_to_f32(hyb_load_u16(p + 2 * i));
}
static void hyb_quantize_f16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYB_UNUSED(importance);
    for (i = 0; i < n; i++) hyb_store_u16(p + 2 * i, hyb_f32_to_f16(x[i]));
}

static void hyb_dequantize_bf16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hyb_bf16_to_f32(hyb_load_u16(p + 2 * i));
}
static void hyb_quantize_bf16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYB_UNUSED(importance);
    for (i = 0; i < n; i++) hyb_store_u16(p + 2 * i, hyb_f32_to_bf16(x[i]));
}
#endif
