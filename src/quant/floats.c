/* quant/floats: the types that are plain numbers. Encoding rounds to nearest even and ignores importance: each value stands alone. */

static void hybrid__dequantize_f32(const void *blocks, float *y, size_t n) { memcpy(y, blocks, n * sizeof *y); }
static void hybrid__quantize_f32(const float *x, void *blocks, size_t n, const float *importance)
{
    HYBRID__UNUSED(importance);
    memcpy(blocks, x, n * sizeof *x);
}

static void hybrid__dequantize_f16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hybrid__f16_to_f32(hybrid__load_u16(p + 2 * i));
}
static void hybrid__quantize_f16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i++) hybrid__store_u16(p + 2 * i, hybrid__f32_to_f16(x[i]));
}

static void hybrid__dequantize_bf16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hybrid__bf16_to_f32(hybrid__load_u16(p + 2 * i));
}
static void hybrid__quantize_bf16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i++) hybrid__store_u16(p + 2 * i, hybrid__f32_to_bf16(x[i]));
}
