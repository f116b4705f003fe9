/* quant/k_symmetric: super-blocks whose values lie around zero, value = d * scale * q: Q3_K Q6_K. Layouts:
 * quant/blocks. */
#ifndef HYB_QUANT_K_SYMMETRIC_C
#define HYB_QUANT_K_SYMMETRIC_C
#include "search.c"

static void hyb_dequantize_q3_K(const void *blocks, float *y, size_t n)
{
    const hyb_block_q3_K *b = (const hyb_block_q3_K *)blocks, *end = b + n / HYB_QK_K;
    int i, s;
    for (; b < end; b++, y += HYB_QK_K) {
        float d = hyb_f16_to_f32(b->d);
        int8_t sc[16];
        hyb_scales_q3_unpack(b->scales, sc);
        for (s = 0; s < 16; s++) { /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16, *hmask = b->hmask + s % 2 * 16;
            float scale = d * (float)sc[s];
            for (i = 0; i < 16; i++) {
                int q = (qs[i] >> (s % 8 / 2 * 2) & 3) | (hmask[i] >> (s / 2) & 1) << 2;
                y[16 * s + i] = scale * (float)(q - 4);
            }
        }
    }
}

static void hyb_dequantize_q6_K(const void *blocks, float *y, size_t n)
{
    const hyb_block_q6_K *b = (const hyb_block_q6_K *)blocks, *end = b + n / HYB_QK_K;
    int i, s;
    for (; b < end; b++, y += HYB_QK_K) {
        float d = hyb_f16_to_f32(b->d);
        for (s = 0; s < 16; s++) { /* 16 values from i = 16 s: half s / 8, quarter of it s % 8 / 2 */
            const uint8_t *ql = b->ql + s / 8 * 64 + s % 4 * 16, *qh = b->qh + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)b->scales[s];
            for (i = 0; i < 16; i++) {
                int q = (ql[i] >> (s % 8 / 4 * 4) & 15) | (qh[i] >> (s % 8 / 2 * 2) & 3) << 4;
                y[16 * s + i] = scale * (float)(q - 32);
            }
        }
    }
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

typedef struct hyb_symmetric {
    uint16_t d;
    float sc[16], q[HYB_QK_K], err;
} hyb_symmetric;

/* Fills out for one d: of the sixteen scales next to fit[s] / d, the one with the least error. */
static void hyb_try_symmetric(const hyb_encode_input *in, const float *fit, float d, float sc_lo, float sc_hi, float lo,
                              float hi, hyb_symmetric *out)
{
    static const float zero[HYB_LANES] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    float stored;
    int k, s, half;
    out->d = hyb_encode_half(in, d, 0, &stored);
    if (stored == 0) out->d = hyb_encode_half(in, d, 1, &stored);
    out->err = 0;
    for (s = 0; s < 16; s++) {
        float scale[HYB_LANES], sc[HYB_LANES], err[HYB_LANES],
            least = 0, nearest = hyb_round_clamped(fit[s] / stored, sc_lo, sc_hi);
        const float *x = in->x + 16 * s, *w = in->w + 16 * s;
        for (half = 0; half < 2; half++) {
            for (k = 0; k < HYB_LANES; k++) {
                sc[k] = hyb_round_clamped(nearest + (float)(k - (half == 0 ? 3 : k < 4 ? 7 : -1)), sc_lo, sc_hi);
                scale[k] = stored * sc[k];
            }
            hyb_try_lines(x, w, 16, scale, zero, lo, hi, err);
            k = hyb_smallest(err);
            if (half == 0 || err[k] < least) {
                least = err[k];
                out->sc[s] = sc[k];
            }
        }
        out->err += least;
        hyb_apply_line(x, 16, stored * out->sc[s], 0, lo, hi, out->q + 16 * s);
    }
}

/* The scale d, the 16 scales sc in sc_lo..sc_hi and the integers q in lo..hi of 256 values. d is as the best scales of
 * the sub-blocks suggest. When hardly any error is left (a constant, few distinct values) it is the rounding of d to
 * a half: eight more draws. */
static uint16_t hyb_encode_symmetric(const float *values, const float *importance, float sc_lo, float sc_hi, float lo,
                                     float hi, int8_t *sc, float *q)
{
    hyb_encode_input in;
    hyb_symmetric now, best;
    float fit[16], peak, xx = 0;
    int i, s, draw, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK_K);
    memset(sc, 0, 16);
    memset(q, 0, HYB_QK_K * sizeof *q);
    if (kind != HYB_ENCODE_NORMAL) return kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    for (s = 0; s < 16; s++) fit[s] = hyb_fit_scale(in.x + 16 * s, in.w + 16 * s, 16, lo, hi);
    peak = hyb_peak(fit, 16);
    if (peak == 0) return 0;
    hyb_try_symmetric(&in, fit, peak / sc_lo, sc_lo, sc_hi, lo, hi, &best);
    for (i = 0; i < HYB_QK_K; i++) xx += in.w[i] * in.x[i] * in.x[i];
    for (draw = 0; draw < 8 && best.err > 0 && best.err < 5e-5f * xx; draw++) {
        if (draw == 0) {
            for (s = 0; s < 16; s++) fit[s] = hyb_peak(in.x + 16 * s, 16) / lo;
            peak = hyb_peak(fit, 16);
        }
        hyb_try_symmetric(&in, fit, peak / (sc_lo + (float)draw), sc_lo, sc_hi, lo, hi, &now);
        if (now.err < best.err) best = now;
    }
    for (s = 0; s < 16; s++) sc[s] = (int8_t)best.sc[s];
    memcpy(q, best.q, sizeof best.q);
    return best.d;
}

static void hyb_quantize_q3_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q3_K *b = (hyb_block_q3_K *)blocks;
    float q[HYB_QK_K];
    int8_t sc[16];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYB_QK_K, b++) {
        memset(b, 0, sizeof *b);
        b->d = hyb_encode_symmetric(x + at, importance ? importance + at : NULL, -32, 31, -4, 3, sc, q);
        hyb_scales_q3_pack(sc, b->scales);
        for (i = 0; i < HYB_QK_K; i++) {
            unsigned v = (unsigned)(q[i] + 4);
            uint8_t *qs = &b->qs[i / 128 * 32 + i % 32], *hmask = &b->hmask[i % 32];
            *qs = (uint8_t)(*qs | (v & 3) << (i % 128 / 32 * 2));
            *hmask = (uint8_t)(*hmask | (v >> 2) << (i / 32));
        }
    }
}

static void hyb_quantize_q6_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q6_K *b = (hyb_block_q6_K *)blocks;
    float q[HYB_QK_K];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYB_QK_K, b++) {
        memset(b, 0, sizeof *b);
        b->d = hyb_encode_symmetric(x + at, importance ? importance + at : NULL, -128, 127, -32, 31, b->scales, q);
        for (i = 0; i < HYB_QK_K; i++) {
            unsigned v = (unsigned)(q[i] + 32);
            uint8_t *ql = &b->ql[i / 128 * 64 + i % 64], *qh = &b->qh[i / 128 * 32 + i % 32];
            *ql = (uint8_t)(*ql | (v & 15) << (i % 128 / 64 * 4));
            *qh = (uint8_t)(*qh | (v >> 4) << (i % 128 / 32 * 2));
        }
    }
}
#endif
