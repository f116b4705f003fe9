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

/* ---- encoding ---- */

/* value = d * q: the half d and the integers q in lo..hi of 32 values. */
static uint16_t hybrid__encode_scale_32(const float *values, const float *importance, float lo, float hi, float *q)
{
    hybrid__encode_input in;
    float scale[HYBRID__LANES], offset[HYBRID__LANES], err[HYBRID__LANES], fit;
    uint16_t half[HYBRID__LANES];
    int k, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK);
    memset(q, 0, HYBRID__QK * sizeof *q);
    if (kind != HYBRID__ENCODE_NORMAL) return kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    fit = hybrid__fit_scale(in.x, in.w, HYBRID__QK, lo, hi);
    for (k = 0; k < HYBRID__LANES; k++) {                    /* the last: no search, exact for one value */
        half[k] = k < 7 ? hybrid__encode_half(&in, fit, k - 3, &scale[k]) : hybrid__encode_half(&in, hybrid__peak(in.x, HYBRID__QK) / lo, 0, &scale[k]);
        offset[k] = 0;
    }
    hybrid__try_lines(in.x, in.w, HYBRID__QK, scale, offset, lo, hi, err);
    k = hybrid__smallest(err);
    hybrid__apply_line(in.x, HYBRID__QK, scale[k], 0, lo, hi, q);
    return half[k];
}

/* value = d * q + m: the halves d and m, and the integers q in 0..hi of 32 values. */
static void hybrid__encode_line_32(const float *values, const float *importance, float hi, uint16_t *d, uint16_t *m, float *q)
{
    hybrid__encode_input in;
    hybrid__line line;
    float scale[HYBRID__LANES], offset[HYBRID__LANES], err[HYBRID__LANES], middle;
    uint16_t half_d[HYBRID__LANES], half_m[HYBRID__LANES];
    int i, k, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK);
    memset(q, 0, HYBRID__QK * sizeof *q);
    *d = *m = kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    if (kind != HYBRID__ENCODE_NORMAL) return;
    middle = in.x[0];                                        /* around zero, so that the sums do not cancel */
    for (i = 0; i < HYBRID__QK; i++) in.x[i] -= middle;
    line = hybrid__fit_line(in.x, in.w, HYBRID__QK, hi, 1e30f);
    for (i = 0; i < HYBRID__QK; i++) in.x[i] += middle;
    for (k = 0; k < HYBRID__LANES; k++) {
        half_d[k] = hybrid__encode_half(&in, line.scale, k / 3 - 1, &scale[k]);
        half_m[k] = hybrid__encode_half(&in, line.offset + middle, k % 3 - 1, &offset[k]);
    }
    hybrid__try_lines(in.x, in.w, HYBRID__QK, scale, offset, 0, hi, err);
    k = hybrid__smallest(err);
    hybrid__apply_line(in.x, HYBRID__QK, scale[k], offset[k], 0, hi, q);
    *d = half_d[k];
    *m = half_m[k];
}

/* q as 4 bits, and the fifth bits into qh (when there are any). */
static void hybrid__pack_nibbles(const float *q, float plus, uint8_t *qs, uint8_t *qh)
{
    uint32_t high = 0;
    int j;
    for (j = 0; j < 16; j++) {
        uint32_t a = (uint32_t)(q[j] + plus), b = (uint32_t)(q[j + 16] + plus);
        qs[j] = (uint8_t)((a & 15) | (b & 15) << 4);
        high |= (a >> 4) << j | (b >> 4) << (j + 16);
    }
    if (qh) hybrid__store_u32(qh, high);
}

static void hybrid__quantize_q4_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q4_0 *b = (hybrid__block_q4_0 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        b->d = hybrid__encode_scale_32(x + i, importance ? importance + i : NULL, -8, 7, q);
        hybrid__pack_nibbles(q, 8, b->qs, NULL);
    }
}

static void hybrid__quantize_q4_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q4_1 *b = (hybrid__block_q4_1 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        hybrid__encode_line_32(x + i, importance ? importance + i : NULL, 15, &b->d, &b->m, q);
        hybrid__pack_nibbles(q, 0, b->qs, NULL);
    }
}

static void hybrid__quantize_q5_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q5_0 *b = (hybrid__block_q5_0 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        b->d = hybrid__encode_scale_32(x + i, importance ? importance + i : NULL, -16, 15, q);
        hybrid__pack_nibbles(q, 16, b->qs, b->qh);
    }
}

static void hybrid__quantize_q5_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q5_1 *b = (hybrid__block_q5_1 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        hybrid__encode_line_32(x + i, importance ? importance + i : NULL, 31, &b->d, &b->m, q);
        hybrid__pack_nibbles(q, 0, b->qs, b->qh);
    }
}

/* 8 bits need no search: the largest magnitude becomes 127, the rest is rounded by the scale as it is stored. */
static void hybrid__quantize_q8_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q8_0 *b = (hybrid__block_q8_0 *)blocks;
    size_t i;
    int j;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        uint32_t peak = hybrid__largest_bits(x + i, HYBRID__QK);
        uint16_t d = hybrid__f32_to_f16(hybrid__bits_f32(peak) / 127.0f);
        float inverse;
        if (peak >= 0x7F800000u) d = HYBRID__HALF_NAN;
        else if (d == HYBRID__HALF_INFINITY) d = HYBRID__HALF_LARGEST;
        else if (d == 0 && peak) d = 1;                      /* the smallest step there is */
        inverse = d == 0 || d == HYBRID__HALF_NAN ? 0.0f : 1.0f / hybrid__f16_to_f32(d);
        b->d = d;
        for (j = 0; j < HYBRID__QK; j++) b->qs[j] = (int8_t)(d == HYBRID__HALF_NAN ? 0.0f : hybrid__round_clamped(x[i + (size_t)j] * inverse, -127, 127));
    }
}
