/* quant/k_affine: super-blocks whose sub-blocks have a scale and a minimum, value = d * scale * q - dmin * min: Q2_K
 * Q4_K Q5_K. Layouts: quant/blocks. */
#ifndef HYB_QUANT_K_AFFINE_C
#define HYB_QUANT_K_AFFINE_C
#include "search.c"

static void hyb_dequantize_q2_K(const void *blocks, float *y, size_t n)
{
    const hyb_block_q2_K *b = (const hyb_block_q2_K *)blocks, *end = b + n / HYB_QK_K;
    int i, s;
    for (; b < end; b++, y += HYB_QK_K) {
        float d = hyb_f16_to_f32(b->d), dmin = hyb_f16_to_f32(b->dmin);
        for (s = 0; s < 16; s++) { /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)(b->scales[s] & 15), min = dmin * (float)(b->scales[s] >> 4);
            for (i = 0; i < 16; i++) y[16 * s + i] = scale * (float)(qs[i] >> (s % 8 / 2 * 2) & 3) - min;
        }
    }
}

static void hyb_dequantize_q4_K(const void *blocks, float *y, size_t n)
{
    const hyb_block_q4_K *b = (const hyb_block_q4_K *)blocks, *end = b + n / HYB_QK_K;
    int i, s;
    for (; b < end; b++, y += HYB_QK_K) {
        float d = hyb_f16_to_f32(b->d), dmin = hyb_f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hyb_scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) { /* 32 values from i = 32 s: nibble s % 2 of 32 bytes */
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++) y[32 * s + i] = scale * (float)(qs[i] >> (s % 2 * 4) & 15) - min;
        }
    }
}

static void hyb_dequantize_q5_K(const void *blocks, float *y, size_t n)
{
    const hyb_block_q5_K *b = (const hyb_block_q5_K *)blocks, *end = b + n / HYB_QK_K;
    int i, s;
    for (; b < end; b++, y += HYB_QK_K) {
        float d = hyb_f16_to_f32(b->d), dmin = hyb_f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hyb_scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) {
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++)
                y[32 * s + i] = scale * (float)((qs[i] >> (s % 2 * 4) & 15) | (b->qh[i] >> s & 1) << 4) - min;
        }
    }
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

typedef struct hyb_affine {
    uint16_t d, dmin;
    float sc[16], m[16], q[HYB_QK_K], err;
} hyb_affine;

/* Sums for the least-squares (d, dmin) of x = d u - dmin v, u = sc * q, v = m. */
typedef struct hyb_affine_sums {
    float uu, vv, uv, xu, xv;
} hyb_affine_sums;

/* The least-squares steps, where the sums determine them; both at least 0. */
static void hyb_solve_affine(const hyb_affine_sums *t, float *d, float *dmin)
{
    float det = t->uu * t->vv - t->uv * t->uv;
    if (det > 1e-6f * t->uu * t->vv) {
        *d = (t->xu * t->vv - t->xv * t->uv) / det;
        *dmin = (t->xu * t->uv - t->xv * t->uu) / det;
    } else if (t->uu > 0 && t->vv == 0)
        *d = t->xu / t->uu;
    else if (t->vv > 0 && t->uu == 0)
        *dmin = -t->xv / t->vv;
    if (!(*d > 0)) *d = 0;
    if (!(*dmin > 0)) *dmin = 0;
}

/* Fills out for one pair of steps: around the line fit[s], four scales; for each, the offset that keeps the middle of
 * the sub-block where it is, as the two nearest mins; of these eight, the one with the least error. Moves d and dmin
 * to the least squares of what was chosen. */
static void hyb_try_affine(const hyb_encode_input *in, const hyb_line *fit, const float *mean, int len, float sc_hi,
                           float hi, float *d, float *dmin, hyb_affine *out)
{
    hyb_affine_sums t = { 0, 0, 0, 0, 0 };
    float step, step_min;
    int i, k, s;
    out->d = hyb_encode_half(in, *d, 0, &step);
    out->dmin = hyb_encode_half(in, *dmin, 0, &step_min);
    if (step == 0 && *d > 0) out->d = hyb_encode_half(in, *d, 1, &step);
    if (step_min == 0 && *dmin > 0) out->dmin = hyb_encode_half(in, *dmin, 1, &step_min);
    out->err = 0;
    for (s = 0; s < HYB_QK_K / len; s++) {
        const float *x = in->x + len * s, *w = in->w + len * s;
        float scale[HYB_LANES], offset[HYB_LANES], sc[HYB_LANES], m[HYB_LANES], err[HYB_LANES], *q = out->q + len * s;
        float below = step > 0 ? floorf(fit[s].scale / step) : 0,
              q_mean = fit[s].scale > 0 ? (mean[s] - fit[s].offset) / fit[s].scale : 0;
        for (k = 0; k < HYB_LANES; k++) {
            float ideal;
            sc[k] = hyb_round_clamped(below + (float)(k / 2 - 1), 0, sc_hi);
            scale[k] = step * sc[k];
            ideal = -(fit[s].offset + (fit[s].scale - scale[k]) * q_mean);
            m[k] = step_min > 0 ? hyb_round_clamped(floorf(ideal / step_min) + (float)(k % 2), 0, sc_hi) : 0;
            offset[k] = -(step_min * m[k]);
        }
        hyb_try_lines(x, w, len, scale, offset, 0, hi, err);
        k = hyb_smallest(err);
        out->err += err[k];
        out->sc[s] = sc[k];
        out->m[s] = m[k];
        hyb_apply_line(x, len, scale[k], offset[k], 0, hi, q);
        for (i = 0; i < len; i++) {
            float u = sc[k] * q[i], v = m[k], wu = w[i] * u, wv = w[i] * v;
            t.uu += wu * u;
            t.uv -= wu * v;
            t.vv += wv * v;
            t.xu += wu * x[i];
            t.xv -= wv * x[i];
        }
    }
    hyb_solve_affine(&t, d, dmin);
}

/* The largest steps that the lines need. */
static void hyb_affine_steps(const hyb_line *fit, int n_sub, float sc_hi, float *d, float *dmin)
{
    int s;
    *d = *dmin = 0;
    for (s = 0; s < n_sub; s++) {
        *d = HYB_MAX(*d, fit[s].scale / sc_hi);
        *dmin = HYB_MAX(*dmin, -fit[s].offset / sc_hi);
    }
}

/* d, dmin, the scales sc and mins m in 0..sc_hi of 256 / len sub-blocks, and the integers q in 0..hi of 256 values. The
 * steps are tried as the best lines suggest and by least squares. When hardly any error is left (a constant, few
 * distinct values) it is the rounding of the steps to halves: eight more draws. */
static void hyb_encode_affine(const float *values, const float *importance, int len, float sc_hi, float hi, uint16_t *d,
                              uint16_t *dmin, uint8_t *sc, uint8_t *m, float *q)
{
    hyb_encode_input in;
    hyb_affine now, best;
    hyb_line fit[16];
    float mean[16], step, step_min, xx = 0;
    int i, s, pass, n_sub = HYB_QK_K / len, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK_K);
    memset(sc, 0, (size_t)n_sub);
    memset(m, 0, (size_t)n_sub);
    memset(q, 0, HYB_QK_K * sizeof *q);
    *d = *dmin = kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    if (kind != HYB_ENCODE_NORMAL) return;
    for (s = 0; s < n_sub; s++) {
        const float *x = in.x + len * s, *w = in.w + len * s;
        float sum_w = 0, sum_wx = 0;
        fit[s] = hyb_fit_line(x, w, len, hi, 0);
        for (i = 0; i < len; i++) {
            sum_w += w[i];
            sum_wx += w[i] * x[i];
            xx += w[i] * x[i] * x[i];
        }
        mean[s] = sum_w > 0 ? sum_wx / sum_w : 0;
    }
    hyb_affine_steps(fit, n_sub, sc_hi, &step, &step_min);
    hyb_try_affine(&in, fit, mean, len, sc_hi, hi, &step, &step_min, &best);
    for (pass = 0; pass < 9; pass++) {
        if (pass > 0 && !(best.err > 0 && best.err < 5e-5f * xx)) break;
        if (pass == 1)
            for (s = 0; s < n_sub; s++) fit[s] = hyb_plain_line(in.x + len * s, len, hi, 0);
        if (pass > 0) hyb_affine_steps(fit, n_sub, sc_hi - (float)(pass - 1), &step, &step_min);
        hyb_try_affine(&in, fit, mean, len, sc_hi, hi, &step, &step_min, &now);
        if (now.err < best.err) best = now;
    }
    *d = best.d;
    *dmin = best.dmin;
    memcpy(q, best.q, sizeof best.q);
    for (s = 0; s < n_sub; s++) {
        sc[s] = (uint8_t)best.sc[s];
        m[s] = (uint8_t)best.m[s];
    }
}

static void hyb_quantize_q2_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q2_K *b = (hyb_block_q2_K *)blocks;
    float q[HYB_QK_K];
    uint8_t sc[16], m[16];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYB_QK_K, b++) {
        memset(b, 0, sizeof *b);
        hyb_encode_affine(x + at, importance ? importance + at : NULL, 16, 15, 3, &b->d, &b->dmin, sc, m, q);
        for (i = 0; i < 16; i++) b->scales[i] = (uint8_t)(sc[i] | m[i] << 4);
        for (i = 0; i < HYB_QK_K; i++) {
            uint8_t *qs = &b->qs[i / 128 * 32 + i % 32];
            *qs = (uint8_t)(*qs | (unsigned)q[i] << (i % 128 / 32 * 2));
        }
    }
}

static void hyb_quantize_q4_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q4_K *b = (hyb_block_q4_K *)blocks;
    float q[HYB_QK_K];
    uint8_t sc[8], m[8];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYB_QK_K, b++) {
        hyb_encode_affine(x + at, importance ? importance + at : NULL, 32, 63, 15, &b->d, &b->dmin, sc, m, q);
        hyb_scales_k4_pack(sc, m, b->scales);
        for (i = 0; i < 128; i++) {
            const float *p = q + i / 32 * 64 + i % 32;
            b->qs[i] = (uint8_t)((unsigned)p[0] | (unsigned)p[32] << 4);
        }
    }
}

static void hyb_quantize_q5_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_q5_K *b = (hyb_block_q5_K *)blocks;
    float q[HYB_QK_K];
    uint8_t sc[8], m[8];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYB_QK_K, b++) {
        hyb_encode_affine(x + at, importance ? importance + at : NULL, 32, 63, 31, &b->d, &b->dmin, sc, m, q);
        hyb_scales_k4_pack(sc, m, b->scales);
        memset(b->qh, 0, sizeof b->qh);
        for (i = 0; i < 128; i++) {
            const float *p = q + i / 32 * 64 + i % 32;
            unsigned v = (unsigned)p[0], u = (unsigned)p[32];
            b->qs[i] = (uint8_t)((v & 15) | (u & 15) << 4);
            b->qh[i % 32] = (uint8_t)(b->qh[i % 32] | (v >> 4) << (i / 32 * 2) | (u >> 4) << (i / 32 * 2 + 1));
        }
    }
}
#endif
