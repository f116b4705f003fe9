/* quant/legacy: the types of 32 values a block: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0. Layouts: quant/blocks. */
#ifndef HYB_QUANT_LEGACY_C
#define HYB_QUANT_LEGACY_C
#include "search.c"

static void hyb_dequantize_q4_0(const void *blocks, float *y, size_t n)
{
    const hyb_block_q4_0 *b = (const hyb_block_q4_0 *)blocks, *end = b + n / HYB_QK;
    int j;
    for (; b < end; b++, y += HYB_QK) {
        float d = hyb_f16_to_f32(b->d);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15) - 8) * d;
            y[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
        }
    }
}

static void hyb_dequantize_q4_1(const void *blocks, float *y, size_t n)
{
    const hyb_block_q4_1 *b = (const hyb_block_q4_1 *)blocks, *end = b + n / HYB_QK;
    int j;
    for (; b < end; b++, y += HYB_QK) {
        float d = hyb_f16_to_f32(b->d), m = hyb_f16_to_f32(b->m);
        for (j = 0; j < 16; j++) {
            y[j] = (float)(b->qs[j] & 15) * d + m;
            y[j + 16] = (float)(b->qs[j] >> 4) * d + m;
        }
    }
}

static void hyb_dequantize_q5_0(const void *blocks, float *y, size_t n)
{
    const hyb_block_q5_0 *b = (const hyb_block_q5_0 *)blocks, *end = b + n / HYB_QK;
    int j;
    for (; b < end; b++, y += HYB_QK) {
        float d = hyb_f16_to_f32(b->d);
        uint32_t qh = hyb_load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((int)((b->qs[j] & 15u) | (qh >> j & 1) << 4) - 16) * d;
            y[j + 16] = (float)((int)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) - 16) * d;
        }
    }
}

static void hyb_dequantize_q5_1(const void *blocks, float *y, size_t n)
{
    const hyb_block_q5_1 *b = (const hyb_block_q5_1 *)blocks, *end = b + n / HYB_QK;
    int j;
    for (; b < end; b++, y += HYB_QK) {
        float d = hyb_f16_to_f32(b->d), m = hyb_f16_to_f32(b->m);
        uint32_t qh = hyb_load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15u) | (qh >> j & 1) << 4) * d + m;
            y[j + 16] = (float)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) * d + m;
        }
    }
}

static void hyb_dequantize_q8_0(const void *blocks, float *y, size_t n)
{
    const hyb_block_q8_0 *b = (const hyb_block_q8_0 *)blocks, *end = b + n / HYB_QK;
    int j;
    for (; b < end; b++, y += HYB_QK) {
        float d = hyb_f16_to_f32(b->d);
        for (j = 0; j < HYB_QK; j++) y[j] = (float)b->qs[j] * d;
    }
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* value = d * q: the half d and the integers q in lo..hi of 32 values. */
static uint16_t hyb_encode_scale_32(const float *values, const float *importance, float lo, float hi, float *q)
{
    hyb_encode_input in;
    float scale[HYB_LANES], offset[HYB_LANES], err[HYB_LANES], fit;
    uint16_t half[HYB_LANES];
    int k, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK);
    memset(q, 0, HYB_QK * sizeof *q);
    if (kind != HYB_ENCODE_NORMAL) return kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    fit = hyb_fit_scale(in.x, in.w, HYB_QK, lo, hi);
    for (k = 0; k < HYB_LANES; k++) { /* the last: no search, exact for one value */
        half[k] = k < 7 ? hyb_encode_half(&in, fit, k - 3, &scale[k])
                        : hyb_encode_half(&in, hyb_peak(in.x, HYB_QK) / lo, 0, &scale[k]);
        offset[k] = 0;
    }
    hyb_try_lines(in.x, in.w, HYB_QK, scale, offset, lo, hi, err);
    k = hyb_smallest(err);
    hyb_apply_line(in.x, HYB_QK, scale[k], 0, lo, hi, q);
    return half[k];
}

/* value = d * q + m: the halves d and m, and the integers q in 0..hi of 32 values. */
static void hyb_encode_line_32(const float *values, const float *importance, float hi, uint16_t *d, uint16_t *m,
                               float *q)
{
    hyb_encode_input in;
    hyb_line line;
    float scale[HYB_LANES], offset[HYB_LANES], err[HYB_LANES], middle;
    uint16_t half_d[HYB_LANES], half_m[HYB_LANES];
    int i, k, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK);
    memset(q, 0, HYB_QK * sizeof *q);
    *d = *m = kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    if (kind != HYB_ENCODE_NORMAL) return;
    middle = in.x[0]; /* around zero, so that the sums do not cancel */
    for (i = 0; i < HYB_QK; i++) in.x[i] -= middle;
    line = hyb_fit_line(in.x, in.w, HYB_QK, hi, 1e30f);
    for (i = 0; i < HYB_QK; i++) in.x[i] += middle;
    for (k = 0; k < HYB_LANES; k++) {
        half_d[k] = hyb_encode_half(&in, line.scale, k / 3 - 1, &scale[k]);
        half_m[k] = hyb_encode_half(&in, line.offset + middle, k % 3 - 1, &offset[k]);
    }
    hyb_try_lines(in.x, in.w, HYB_QK, scale, offset, 0, hi, err);
    k = hyb_smallest(err);
    hyb_apply_line(in.x, HYB_QK, scale[k], offset[k], 0, hi, q);
    *d = half_d[k];
    *m = half_m[k];
}

/* q as 4 bits, and the fifth bits into qh (when there are any). */
static void hyb_pack_nibbles(const float *q, float plus, uint8_t *qs, uint8_t *qh)
{
    uint32_t high = 0;
    int j;
    for (j = 0; j < 16; j++) {
        uint32_t a = (uint32_t)(q[j] + plus), b = (uint32_t)(q[j + 16] + plus);
        qs[j] = (uint8_t)((a & 15) | (b & 15) << 4);
        high |= (a >> 4) << j | (b >> 4) << (j + 16);
    }
    if (qh) hyb_store_u32(qh, high);
}

static void hyb_quantize_q4_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q4_0 *b = (hyb_block_q4_0 *)blocks;
    float q[HYB_QK];
    size_t i;
    for (i = 0; i < n; i += HYB_QK, b++) {
        b->d = hyb_encode_scale_32(x + i, importance ? importance + i : NULL, -8, 7, q);
        hyb_pack_nibbles(q, 8, b->qs, NULL);
    }
}

static void hyb_quantize_q4_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q4_1 *b = (hyb_block_q4_1 *)blocks;
    float q[HYB_QK];
    size_t i;
    for (i = 0; i < n; i += HYB_QK, b++) {
        hyb_encode_line_32(x + i, importance ? importance + i : NULL, 15, &b->d, &b->m, q);
        hyb_pack_nibbles(q, 0, b->qs, NULL);
    }
}

static void hyb_quantize_q5_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q5_0 *b = (hyb_block_q5_0 *)blocks;
    float q[HYB_QK];
    size_t i;
    for (i = 0; i < n; i += HYB_QK, b++) {
        b->d = hyb_encode_scale_32(x + i, importance ? importance + i : NULL, -16, 15, q);
        hyb_pack_nibbles(q, 16, b->qs, b->qh);
    }
}

static void hyb_quantize_q5_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q5_1 *b = (hyb_block_q5_1 *)blocks;
    float q[HYB_QK];
    size_t i;
    for (i = 0; i < n; i += HYB_QK, b++) {
        hyb_encode_line_32(x + i, importance ? importance + i : NULL, 31, &b->d, &b->m, q);
        hyb_pack_nibbles(q, 0, b->qs, b->qh);
    }
}

/* 8 bits need no search: the largest magnitude becomes 127, the rest is rounded by the scale as it is stored. */
static void hyb_quantize_q8_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q8_0 *b = (hyb_block_q8_0 *)blocks;
    size_t i;
    int j;
    HYB_UNUSED(importance);
    for (i = 0; i < n; i += HYB_QK, b++) {
        uint32_t peak = hyb_largest_bits(x + i, HYB_QK);
        uint16_t d = hyb_f32_to_f16(hyb_bits_f32(peak) / 127.0f);
        float inverse;
        if (peak >= 0x7F800000u)
            d = HYB_HALF_NAN;
        else if (d == HYB_HALF_INFINITY)
            d = HYB_HALF_LARGEST;
        else if (d == 0 && peak)
            d = 1; /* the smallest step there is */
        inverse = d == 0 || d == HYB_HALF_NAN ? 0.0f : 1.0f / hyb_f16_to_f32(d);
        b->d = d;
        for (j = 0; j < HYB_QK; j++)
            b->qs[j] = (int8_t)(d == HYB_HALF_NAN ? 0.0f : hyb_round_clamped(x[i + (size_t)j] * inverse, -127, 127));
    }
}
#endif
