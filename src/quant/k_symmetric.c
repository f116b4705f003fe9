/* quant/k_symmetric: super-blocks whose values lie around zero, value = d * scale * q: Q3_K Q6_K. Layouts: quant/blocks. */

static void hybrid__dequantize_q3_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d);
        int8_t sc[16];
        hybrid__scales_q3_unpack(b->scales, sc);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16, *hmask = b->hmask + s % 2 * 16;
            float scale = d * (float)sc[s];
            for (i = 0; i < 16; i++) {
                int q = (qs[i] >> (s % 8 / 2 * 2) & 3) | (hmask[i] >> (s / 2) & 1) << 2;
                y[16 * s + i] = scale * (float)(q - 4);
            }
        }
    }
}

static void hybrid__dequantize_q6_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, quarter of it s % 8 / 2 */
            const uint8_t *ql = b->ql + s / 8 * 64 + s % 4 * 16, *qh = b->qh + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)b->scales[s];
            for (i = 0; i < 16; i++) {
                int q = (ql[i] >> (s % 8 / 4 * 4) & 15) | (qh[i] >> (s % 8 / 2 * 2) & 3) << 4;
                y[16 * s + i] = scale * (float)(q - 32);
            }
        }
    }
}
