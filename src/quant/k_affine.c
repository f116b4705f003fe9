/* quant/k_affine: super-blocks whose sub-blocks have a scale and a minimum, value = d * scale * q - dmin * min: Q2_K Q4_K Q5_K.
 * Layouts: quant/blocks. */

static void hybrid__dequantize_q2_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q2_K *b = (const hybrid__block_q2_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)(b->scales[s] & 15), min = dmin * (float)(b->scales[s] >> 4);
            for (i = 0; i < 16; i++) y[16 * s + i] = scale * (float)(qs[i] >> (s % 8 / 2 * 2) & 3) - min;
        }
    }
}

static void hybrid__dequantize_q4_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_K *b = (const hybrid__block_q4_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hybrid__scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) {                            /* 32 values from i = 32 s: nibble s % 2 of 32 bytes */
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++) y[32 * s + i] = scale * (float)(qs[i] >> (s % 2 * 4) & 15) - min;
        }
    }
}

static void hybrid__dequantize_q5_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_K *b = (const hybrid__block_q5_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hybrid__scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) {
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++) y[32 * s + i] = scale * (float)((qs[i] >> (s % 2 * 4) & 15) | (b->qh[i] >> s & 1) << 4) - min;
        }
    }
}
