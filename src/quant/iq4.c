/* quant/iq4: types whose 4-bit numbers are places in one table of 16 values, which lie closer around zero: IQ4_NL
 * IQ4_XS. d is an IEEE half, little-endian.
 *
 *   IQ4_NL  blocks of 32: value = d * code[q]; qs[j] holds q[j] in its low nibble and q[j + 16] in its high one
 *   IQ4_XS  super-blocks of 256, in sub-blocks of 32; sub-block s of value i is i / 32, v = i % 32
 *           value = (d * (sc[s] - 32)) * code[q]; q: nibbles of qs[16s + v % 16], low for v < 16, else high
 *           sc: 6 bits: the low 4 are nibble s % 2 of scales_l[s / 2], the high 2 are bits 2s, +1 of scales_h */
#ifndef HYB_QUANT_IQ4_C
#define HYB_QUANT_IQ4_C
#include "search.c"

typedef struct hyb_block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
} hyb_block_iq4_nl;
typedef struct hyb_block_iq4_xs {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} hyb_block_iq4_xs;

/* The table, a byte each; as GGUF has it. */
static const int8_t *hyb_iq4_codes(void)
{
    static const int8_t codes[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    return codes;
}

/* 32 values = d * code[q], q as nibbles: the 16 products first, which vectors make, and then one look-up a value. */
static void hyb_iq4_decode(const uint8_t *qs, float d, float *y)
{
    static const float codes[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    float products[16];
    int j;
    for (j = 0; j < 16; j++) products[j] = d * codes[j];
    for (j = 0; j < 16; j++) {
        y[j] = products[qs[j] & 15];
        y[j + 16] = products[qs[j] >> 4];
    }
}

static void hyb_dequantize_iq4_nl(const void *blocks, float *y, size_t n)
{
    const hyb_block_iq4_nl *b = (const hyb_block_iq4_nl *)blocks, *end = b + n / HYB_QK;
    for (; b < end; b++, y += HYB_QK) hyb_iq4_decode(b->qs, hyb_f16_to_f32(b->d), y);
}

/* Scale s of 8, -32..31. */
HYB_INLINE int hyb_iq4_xs_scale(const hyb_block_iq4_xs *b, int s)
{
    return ((b->scales_l[s / 2] >> (s % 2 * 4) & 15) | (b->scales_h >> (2 * s) & 3) << 4) - 32;
}

static void hyb_dequantize_iq4_xs(const void *blocks, float *y, size_t n)
{
    const hyb_block_iq4_xs *b = (const hyb_block_iq4_xs *)blocks, *end = b + n / HYB_QK_K;
    int s;
    for (; b < end; b++)
        for (s = 0; s < 8; s++, y += HYB_QK)
            hyb_iq4_decode(b->qs + 16 * s, hyb_f16_to_f32(b->d) * (float)hyb_iq4_xs_scale(b, s), y);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* The place of the value of the table that is nearest to v: how many of the middles between neighbours are below. */
HYB_INLINE int hyb_iq4_nearest(float v)
{
    static const float middles[15] = { -115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                       7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f };
    int at = v > middles[7] ? 8 : 0;
    at += v > middles[at + 3] ? 4 : 0;
    at += v > middles[at + 1] ? 2 : 0;
    return at + (v > middles[at] ? 1 : 0);
}

/* The places q of 32 values for one scale, and their error. */
static float hyb_iq4_apply(const float *x, const float *w, float scale, uint8_t *q)
{
    const int8_t *codes = hyb_iq4_codes();
    const float inverse = hyb_inverse(scale);
    float sum = 0;
    int i;
    for (i = 0; i < HYB_QK; i++) {
        float e;
        q[i] = (uint8_t)hyb_iq4_nearest(x[i] * inverse);
        e = x[i] - scale * (float)codes[q[i]];
        sum += w[i] * e * e;
    }
    return sum;
}

/* The least-squares scale of the places that 1 / inverse gives, and how far that lowers the error below sum w x^2. */
static float hyb_iq4_refit(const float *x, const float *w, float inverse, float *gain)
{
    const int8_t *codes = hyb_iq4_codes();
    float xc = 0, cc = 0, scale;
    int i;
    for (i = 0; i < HYB_QK; i++) {
        const float code = (float)codes[hyb_iq4_nearest(x[i] * inverse)], wc = w[i] * code;
        xc += wc * x[i];
        cc += wc * code;
    }
    scale = cc > 0 ? xc / cc : 0.0f;
    *gain = scale * xc;
    return scale;
}

/* The best scale of 32 values when nothing is rounded; its sign says at which end of the table the largest is. That
 * becomes, in turn, about one and about the other end, or goes beyond it where clipping pays. */
static float hyb_iq4_fit(const float *x, const float *w)
{
    const float peak = hyb_peak(x, HYB_QK);
    float best = 0, most = 0, gain;
    int i;
    if (!(fabsf(peak) > 1e-30f)) return 0;
    for (i = 0; i < 24; i++) {
        const float end = i % 2 ? 113.0f : -127.0f, part = 1.10f - 0.03f * (float)(i / 2);
        const float scale = hyb_iq4_refit(x, w, end * part / peak, &gain);
        if (!(gain > most)) continue;
        most = gain;
        best = scale;
    }
    return best != 0 ? hyb_iq4_refit(x, w, 1.0f / best, &gain) : 0.0f;
}

static void hyb_iq4_pack(const uint8_t *q, uint8_t *qs)
{
    int j;
    for (j = 0; j < 16; j++) qs[j] = (uint8_t)(q[j] | q[j + 16] << 4);
}

/* The half d and the places q of 32 values: the best of those next to what fits, as they are stored, and, which is
 * exact for one value, of the largest at an end of the table. */
static uint16_t hyb_iq4_encode(const float *values, const float *importance, uint8_t *q)
{
    hyb_encode_input in;
    float fit, least = 0;
    uint8_t now[HYB_QK];
    uint16_t best = 0;
    int k, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK);
    memset(q, 8, HYB_QK); /* 1, so that 0 * 1 is a zero without a sign */
    if (kind != HYB_ENCODE_NORMAL) return kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    fit = hyb_iq4_fit(in.x, in.w);
    for (k = 0; k < 7; k++) {
        float stored, err;
        const uint16_t half = k < 5 ? hyb_encode_half(&in, fit, k - 2, &stored)
                                    : hyb_encode_half(&in, hyb_peak(in.x, HYB_QK) / (k == 5 ? -127.0f : 113.0f), 0,
                                                      &stored);
        err = hyb_iq4_apply(in.x, in.w, stored, now);
        if (k && !(err < least)) continue;
        least = err;
        best = half;
        memcpy(q, now, sizeof now);
    }
    return best;
}

static void hyb_quantize_iq4_nl(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_iq4_nl *b = (hyb_block_iq4_nl *)blocks;
    uint8_t q[HYB_QK];
    size_t i;
    for (i = 0; i < n; i += HYB_QK, b++) {
        b->d = hyb_iq4_encode(x + i, importance ? importance + i : NULL, q);
        hyb_iq4_pack(q, b->qs);
    }
}

typedef struct hyb_iq4_super {
    uint16_t d;
    int sc[8]; /* -32..31 */
    uint8_t q[HYB_QK_K];
    float err;
} hyb_iq4_super;

/* Fills out for one d: of the seven scales next to fit[s] / d, the one with the least error. */
static void hyb_iq4_try_super(const hyb_encode_input *in, const float *fit, float d, hyb_iq4_super *out)
{
    uint8_t now[HYB_QK];
    float stored;
    int s, k;
    out->d = hyb_encode_half(in, d, 0, &stored);
    if (stored == 0) out->d = hyb_encode_half(in, d, 1, &stored);
    out->err = 0;
    for (s = 0; s < 8; s++) {
        const float *x = in->x + HYB_QK * s, *w = in->w + HYB_QK * s,
                    nearest = hyb_round_clamped(fit[s] / stored, -32, 31);
        float least = 0;
        for (k = 0; k < 7; k++) {
            const float sc = hyb_round_clamped(nearest + (float)(k - 3), -32, 31);
            const float err = hyb_iq4_apply(x, w, stored * sc, now);
            if (k && !(err < least)) continue;
            least = err;
            out->sc[s] = (int)sc;
            memcpy(out->q + HYB_QK * s, now, sizeof now);
        }
        out->err += least;
    }
}

/* d is as the best scales of the sub-blocks suggest: the largest becomes -32 or 31. When little error is left (a
 * constant, values far from zero) it is the rounding of d and of scales: a few more draws. */
static void hyb_iq4_encode_super(const float *values, const float *importance, hyb_iq4_super *best)
{
    hyb_encode_input in;
    hyb_iq4_super now;
    float fit[8], peak, xx = 0;
    int i, s, draw, kind = (int)hyb_encode_begin(&in, values, importance, HYB_QK_K);
    memset(best, 0, sizeof *best);
    memset(best->q, 8, sizeof best->q);
    best->d = kind == HYB_ENCODE_DAMAGED ? HYB_HALF_NAN : 0;
    if (kind != HYB_ENCODE_NORMAL) return;
    for (s = 0; s < 8; s++) fit[s] = hyb_iq4_fit(in.x + HYB_QK * s, in.w + HYB_QK * s);
    peak = hyb_peak(fit, 8);
    if (peak == 0) return;
    for (i = 0; i < HYB_QK_K; i++) xx += in.w[i] * in.x[i] * in.x[i];
    for (draw = 0; draw < 2 || (draw < 8 && best->err < 3e-3f * xx); draw++) {
        hyb_iq4_try_super(&in, fit, peak / (draw % 2 ? 31.0f - (float)(draw / 2) : -32.0f + (float)(draw / 2)), &now);
        if (draw == 0 || now.err < best->err) *best = now;
    }
}

static void hyb_quantize_iq4_xs(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_iq4_xs *b = (hyb_block_iq4_xs *)blocks;
    hyb_iq4_super best;
    size_t i;
    int s;
    for (i = 0; i < n; i += HYB_QK_K, b++) {
        hyb_iq4_encode_super(x + i, importance ? importance + i : NULL, &best);
        memset(b, 0, sizeof *b);
        b->d = best.d;
        for (s = 0; s < 8; s++) {
            const unsigned sc = (unsigned)(best.sc[s] + 32);
            b->scales_l[s / 2] = (uint8_t)(b->scales_l[s / 2] | (sc & 15) << (s % 2 * 4));
            b->scales_h = (uint16_t)(b->scales_h | (sc >> 4) << (2 * s));
            hyb_iq4_pack(best.q + HYB_QK * s, b->qs + 16 * s);
        }
    }
}
#endif
