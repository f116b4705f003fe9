/* quant/legacy: the types of 32 values a block: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0. Layouts: quant/blocks. */

static void hybrid__dequantize_q4_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_0 *b = (const hybrid__block_q4_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15) - 8) * d;
            y[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
        }
    }
}

static void hybrid__dequantize_q4_1(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_1 *b = (const hybrid__block_q4_1 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d), m = hybrid__f16_to_f32(b->m);
        for (j = 0; j < 16; j++) {
            y[j] = (float)(b->qs[j] & 15) * d + m;
            y[j + 16] = (float)(b->qs[j] >> 4) * d + m;
        }
    }
}

static void hybrid__dequantize_q5_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_0 *b = (const hybrid__block_q5_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        uint32_t qh = hybrid__load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((int)((b->qs[j] & 15u) | (qh >> j & 1) << 4) - 16) * d;
            y[j + 16] = (float)((int)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) - 16) * d;
        }
    }
}

static void hybrid__dequantize_q5_1(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_1 *b = (const hybrid__block_q5_1 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d), m = hybrid__f16_to_f32(b->m);
        uint32_t qh = hybrid__load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15u) | (qh >> j & 1) << 4) * d + m;
            y[j + 16] = (float)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) * d + m;
        }
    }
}

static void hybrid__dequantize_q8_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q8_0 *b = (const hybrid__block_q8_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        for (j = 0; j < HYBRID__QK; j++) y[j] = (float)b->qs[j] * d;
    }
}
