/* quant/search: what the encoders share: the search for the scale (and offset) of a block.
 *
 * A block is to become x = scale * q + offset with small integers q. For a given (scale, offset) the best q is
 * rounding; for given q the best (scale, offset) is linear least squares. The error has many local minima, so the
 * search tries candidates, eight at a time (lanes that a compiler turns into SIMD, with sums in one fixed order), takes
 * the least-squares line of the best, and looks again around it. Scales are stored rounded, so the encoders then
 * choose among the stored scales by the error that the decoder will really see. */
#ifndef HYB_QUANT_SEARCH_C
#define HYB_QUANT_SEARCH_C
#include "blocks.c"

enum { HYB_LANES = 8, HYB_HALF_LARGEST = 0x7BFF, HYB_HALF_INFINITY = 0x7C00, HYB_HALF_NAN = 0x7E00 };

/* n values of a block, multiplied by a power of two so that the largest magnitude is in 4..8: squares neither over-
 * nor underflow. */
typedef struct hyb_encode_input {
    float x[HYB_QK_K], w[HYB_QK_K]; /* values, weights of their errors (the largest in 1..4) */
    float unit, per_unit;           /* value = x * unit; both powers of two */
} hyb_encode_input;

typedef enum hyb_encode_kind { HYB_ENCODE_ZERO, HYB_ENCODE_NORMAL, HYB_ENCODE_DAMAGED } hyb_encode_kind;

static uint32_t hyb_largest_bits(const float *values, int n)
{
    uint32_t largest = 0;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t a = hyb_f32_bits(values[i]) & 0x7FFFFFFFu;
        largest = HYB_MAX(largest, a);
    }
    return largest;
}

/* ZERO: nothing in the block is as large as half the smallest step that a half-float scale can make. DAMAGED: NaN or
 * infinity. */
static hyb_encode_kind hyb_encode_begin(hyb_encode_input *in, const float *values, const float *importance, int n)
{
    int exponent = (int)(hyb_largest_bits(values, n) >> 23) - 127, i;
    if (exponent == 128) return HYB_ENCODE_DAMAGED;
    if (exponent < -26) return HYB_ENCODE_ZERO;
    in->unit = hyb_bits_f32((uint32_t)(exponent + 125) << 23);
    in->per_unit = hyb_bits_f32((uint32_t)(129 - exponent) << 23);
    for (i = 0; i < n; i++) in->x[i] = values[i] * in->per_unit;
    exponent = importance ? (int)(hyb_largest_bits(importance, n) >> 23) - 127 : -127;
    if (exponent == -127 || exponent == 128) { /* none, all zero, or not numbers: all alike */
        for (i = 0; i < n; i++) in->w[i] = 1;
    } else {
        float scale = hyb_bits_f32((uint32_t)(127 - HYB_MIN(exponent, 126)) << 23);
        for (i = 0; i < n; i++) in->w[i] = importance[i] * scale;
    }
    return HYB_ENCODE_NORMAL;
}

/* The finite half nearest to v (in units of x), moved by some steps away from (< 0: towards) zero; *stored is what the
 * decoder will see, in units of x. The steps matter where halves are coarse: below 2^-14. */
static uint16_t hyb_encode_half(const hyb_encode_input *in, float v, int steps, float *stored)
{
    uint16_t h = hyb_f32_to_f16(v * in->unit);
    int magnitude = (h & 0x7FFF) + steps;
    magnitude = magnitude < 0 ? 0 : magnitude > HYB_HALF_LARGEST ? HYB_HALF_LARGEST : magnitude;
    h = (uint16_t)((h & 0x8000) | magnitude);
    *stored = hyb_f16_to_f32(h) * in->per_unit;
    return h;
}

/* ---- four floats at once: what every x86-64 and ARMv8 has. The plain C gives the same bits. ---------------------- */

#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
typedef __m128 hyb_f4;
HYB_INLINE hyb_f4 hyb_f4_load(const float *p) { return _mm_loadu_ps(p); }
HYB_INLINE void hyb_f4_store(float *p, hyb_f4 a) { _mm_storeu_ps(p, a); }
HYB_INLINE hyb_f4 hyb_f4_all(float a) { return _mm_set1_ps(a); }
HYB_INLINE hyb_f4 hyb_f4_add(hyb_f4 a, hyb_f4 b) { return _mm_add_ps(a, b); }
HYB_INLINE hyb_f4 hyb_f4_sub(hyb_f4 a, hyb_f4 b) { return _mm_sub_ps(a, b); }
HYB_INLINE hyb_f4 hyb_f4_mul(hyb_f4 a, hyb_f4 b) { return _mm_mul_ps(a, b); }
HYB_INLINE hyb_f4 hyb_f4_max(hyb_f4 a, hyb_f4 b) { return _mm_max_ps(a, b); } /* a > b ? a : b; b for NaN */
HYB_INLINE hyb_f4 hyb_f4_min(hyb_f4 a, hyb_f4 b) { return _mm_min_ps(a, b); } /* a < b ? a : b */
#elif !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
typedef float32x4_t hyb_f4;
HYB_INLINE hyb_f4 hyb_f4_load(const float *p) { return vld1q_f32(p); }
HYB_INLINE void hyb_f4_store(float *p, hyb_f4 a) { vst1q_f32(p, a); }
HYB_INLINE hyb_f4 hyb_f4_all(float a) { return vdupq_n_f32(a); }
HYB_INLINE hyb_f4 hyb_f4_add(hyb_f4 a, hyb_f4 b) { return vaddq_f32(a, b); }
HYB_INLINE hyb_f4 hyb_f4_sub(hyb_f4 a, hyb_f4 b) { return vsubq_f32(a, b); }
HYB_INLINE hyb_f4 hyb_f4_mul(hyb_f4 a, hyb_f4 b) { return vmulq_f32(a, b); }
HYB_INLINE hyb_f4 hyb_f4_max(hyb_f4 a, hyb_f4 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
HYB_INLINE hyb_f4 hyb_f4_min(hyb_f4 a, hyb_f4 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
#else
typedef struct hyb_f4 {
    float v[4];
} hyb_f4;
HYB_INLINE hyb_f4 hyb_f4_load(const float *p)
{
    hyb_f4 r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
HYB_INLINE void hyb_f4_store(float *p, hyb_f4 a) { memcpy(p, a.v, sizeof a.v); }
HYB_INLINE hyb_f4 hyb_f4_all(float a)
{
    hyb_f4 r;
    r.v[0] = r.v[1] = r.v[2] = r.v[3] = a;
    return r;
}
    #define HYB_F4_EACH(name, expression) \
        HYB_INLINE hyb_f4 name(hyb_f4 a, hyb_f4 b) \
        { \
            int i; \
            for (i = 0; i < 4; i++) a.v[i] = expression; \
            return a; \
        }
HYB_F4_EACH(hyb_f4_add, a.v[i] + b.v[i])
HYB_F4_EACH(hyb_f4_sub, a.v[i] - b.v[i])
HYB_F4_EACH(hyb_f4_mul, a.v[i] * b.v[i])
HYB_F4_EACH(hyb_f4_max, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
HYB_F4_EACH(hyb_f4_min, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
    #undef HYB_F4_EACH
#endif

/* The nearest integer in lo..hi (to even; NaN: lo), without a call: adding 1.5 * 2^23 leaves no room for a fraction. */
#define HYB_ROUNDER 12582912.0f
HYB_INLINE float hyb_round_clamped(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    return (v + HYB_ROUNDER) - HYB_ROUNDER;
}
HYB_INLINE hyb_f4 hyb_f4_round_clamped(hyb_f4 v, hyb_f4 lo, hyb_f4 hi)
{
    hyb_f4 rounder = hyb_f4_all(HYB_ROUNDER);
    v = hyb_f4_min(hyb_f4_max(v, lo), hi);
    return hyb_f4_sub(hyb_f4_add(v, rounder), rounder);
}

HYB_INLINE float hyb_inverse(float v) { return v != 0 ? 1.0f / v : 0.0f; }

/* err[k] = sum of w (x - (scale[k] q + offset[k]))^2 with the best q in lo..hi for each of 8 lines. */
static void hyb_try_lines(const float *x, const float *w, int n, const float *scale, const float *offset, float lo,
                          float hi, float *err)
{
    hyb_f4 low = hyb_f4_all(lo), high = hyb_f4_all(hi);
    int i, k;
    for (k = 0; k < HYB_LANES; k += 4) {
        float inverses[4] = { hyb_inverse(scale[k]), hyb_inverse(scale[k + 1]), hyb_inverse(scale[k + 2]),
                              hyb_inverse(scale[k + 3]) };
        hyb_f4 s = hyb_f4_load(scale + k), o = hyb_f4_load(offset + k), inverse = hyb_f4_load(inverses),
               sum = hyb_f4_all(0);
        for (i = 0; i < n; i++) {
            hyb_f4 t = hyb_f4_sub(hyb_f4_all(x[i]), o);
            hyb_f4 e = hyb_f4_sub(t, hyb_f4_mul(hyb_f4_round_clamped(hyb_f4_mul(t, inverse), low, high), s));
            sum = hyb_f4_add(sum, hyb_f4_mul(hyb_f4_mul(hyb_f4_all(w[i]), e), e));
        }
        hyb_f4_store(err + k, sum);
    }
}

/* The integers of one line, as lo..hi. */
static void hyb_apply_line(const float *x, int n, float scale, float offset, float lo, float hi, float *q)
{
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    int i;
    for (i = 0; i < n; i++) q[i] = hyb_round_clamped((x[i] - offset) * inverse, lo, hi);
}

static int hyb_smallest(const float *err)
{
    int k, best = 0;
    for (k = 1; k < HYB_LANES; k++)
        if (err[k] < err[best]) best = k;
    return best;
}

/* ---- value = scale * q ------------------------------------------------------------------------------------------- */

/* For each of 8 scales 1 / inverse[k]: the least-squares scale of its integers, and how far that lowers the error
 * below sum w x^2. */
static void hyb_try_scales(const float *x, const float *w, int n, const float *inverse, float lo, float hi,
                           float *scale, float *gain)
{
    hyb_f4 low = hyb_f4_all(lo), high = hyb_f4_all(hi);
    float wxq[HYB_LANES], wqq[HYB_LANES];
    int i, k;
    for (k = 0; k < HYB_LANES; k += 4) {
        hyb_f4 per_scale = hyb_f4_load(inverse + k), sum_xq = hyb_f4_all(0), sum_qq = hyb_f4_all(0);
        for (i = 0; i < n; i++) {
            hyb_f4 v = hyb_f4_all(x[i]), q = hyb_f4_round_clamped(hyb_f4_mul(v, per_scale), low, high),
                   wq = hyb_f4_mul(hyb_f4_all(w[i]), q);
            sum_xq = hyb_f4_add(sum_xq, hyb_f4_mul(wq, v));
            sum_qq = hyb_f4_add(sum_qq, hyb_f4_mul(wq, q));
        }
        hyb_f4_store(wxq + k, sum_xq);
        hyb_f4_store(wqq + k, sum_qq);
    }
    for (k = 0; k < HYB_LANES; k++) {
        scale[k] = wqq[k] > 0 ? wxq[k] / wqq[k] : 0.0f;
        gain[k] = scale[k] * wxq[k];
    }
}

/* The value of largest magnitude. */
static float hyb_peak(const float *x, int n)
{
    float peak = 0;
    int i;
    for (i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(peak)) peak = x[i];
    return peak;
}

/* The best scale of a block with q in lo..hi (-lo = hi + 1). Its sign says which side gets the extra step. The peak
 * becomes, in turn, about lo and about hi, or less than that where clipping it pays; the fewer the steps, the closer
 * the candidates in absolute terms. */
static float hyb_fit_scale(const float *x, const float *w, int n, float lo, float hi)
{
    float inverse[HYB_LANES], scale[HYB_LANES], gain[HYB_LANES], best_scale = 0, best_gain = 0;
    float peak = hyb_peak(x, n), apart = 0.11f * sqrtf(-lo);
    int k, side;
    if (!(fabsf(peak) > 1e-30f)) return 0;
    for (side = 0; side < 2; side++) {
        for (k = 0; k < HYB_LANES; k++)
            inverse[k] = (side == 0 ? lo - 0.6f + apart * (float)k : hi + 0.6f - apart * (float)k) / peak;
        hyb_try_scales(x, w, n, inverse, lo, hi, scale, gain);
        for (k = 0; k < HYB_LANES; k++)
            if (gain[k] > best_gain) {
                best_gain = gain[k];
                best_scale = scale[k];
            }
    }
    return best_scale;
}

/* ---- value = scale * q + offset ---------------------------------------------------------------------------------- */

typedef struct hyb_line {
    float scale, offset;
} hyb_line;

/* For each of 8 lines: the least-squares line of its integers and its error. offset <= most. */
static void hyb_try_fits(const float *x, const float *w, int n, const hyb_line *line, float hi, float most,
                         hyb_line *fit, float *err)
{
    hyb_f4 low = hyb_f4_all(0), high = hyb_f4_all(hi);
    float wq[HYB_LANES], wqq[HYB_LANES], wxq[HYB_LANES], sw = 0, wx = 0, wxx = 0;
    int i, j, k;
    for (k = 0; k < HYB_LANES; k += 4) {
        float inverses[4], offsets[4];
        hyb_f4 offset, inverse, sum_q = low, sum_qq = low, sum_xq = low;
        for (j = 0; j < 4; j++) {
            inverses[j] = hyb_inverse(line[k + j].scale);
            offsets[j] = line[k + j].offset;
        }
        offset = hyb_f4_load(offsets);
        inverse = hyb_f4_load(inverses);
        for (i = 0; i < n; i++) {
            hyb_f4 v = hyb_f4_all(x[i]),
                   q = hyb_f4_round_clamped(hyb_f4_mul(hyb_f4_sub(v, offset), inverse), low, high);
            hyb_f4 a = hyb_f4_mul(hyb_f4_all(w[i]), q);
            sum_q = hyb_f4_add(sum_q, a);
            sum_qq = hyb_f4_add(sum_qq, hyb_f4_mul(a, q));
            sum_xq = hyb_f4_add(sum_xq, hyb_f4_mul(a, v));
        }
        hyb_f4_store(wq + k, sum_q);
        hyb_f4_store(wqq + k, sum_qq);
        hyb_f4_store(wxq + k, sum_xq);
    }
    for (i = 0; i < n; i++) {
        float wv = w[i] * x[i];
        sw += w[i];
        wx += wv;
        wxx += wv * x[i];
    }
    for (k = 0; k < HYB_LANES; k++) {
        float det = sw * wqq[k] - wq[k] * wq[k], s = 0, o = sw > 0 ? wx / sw : 0.0f;
        if (det > 1e-6f * sw * wqq[k]) {
            s = (sw * wxq[k] - wx * wq[k]) / det;
            o = (wqq[k] * wx - wq[k] * wxq[k]) / det;
        }
        if (o > most) {
            o = most;
            s = wqq[k] > 0 ? (wxq[k] - o * wq[k]) / wqq[k] : 0.0f;
        }
        fit[k].scale = s;
        fit[k].offset = o;
        err[k] = wxx - 2 * (s * wxq[k] + o * wx) + s * s * wqq[k] + 2 * s * o * wq[k] + o * o * sw;
    }
}

/* The line through the smallest (at most `most`) and the largest value. */
static hyb_line hyb_plain_line(const float *x, int n, float hi, float most)
{
    hyb_line line;
    float low = x[0], high = x[0];
    int i;
    for (i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    if (low > most) low = most;
    line.offset = low;
    line.scale = (high - low) / hi;
    return line;
}

/* The best line of a block with q in 0..hi, offset <= most. First lines that clip the ends by -0.2, 0.1 or 0.4 steps
 * (only the upper end when the lower one is bound by `most`), then the neighbours of the best: up to a step longer
 * or shorter, moved by up to 0.3 steps. */
static hyb_line hyb_fit_line(const float *x, const float *w, int n, float hi, float most)
{
    hyb_line line[HYB_LANES], fit[HYB_LANES], plain = hyb_plain_line(x, n, hi, most), best = plain;
    float err[HYB_LANES], least = 0;
    int k, round;
    if (!(plain.scale > 1e-30f)) return plain;
    for (round = 0; round < 2; round++) {
        for (k = 0; k < HYB_LANES; k++) {
            float u = (float)(k % 3), v = (float)(k / 3);
            if (round == 1) {
                line[k].scale = best.scale * (1 + (u - 1) / hi);
                line[k].offset = best.offset + best.scale * 0.3f * (v - 1);
            } else if (plain.offset == most) {
                line[k].scale = plain.scale * (1 - 0.1f * (float)k / hi);
                line[k].offset = most;
            } else {
                line[k].scale = plain.scale * (1 - (0.3f * (u + v) - 0.4f) / hi);
                line[k].offset = plain.offset + plain.scale * (0.3f * u - 0.2f);
            }
        }
        hyb_try_fits(x, w, n, line, hi, most, fit, err);
        for (k = 0; k < HYB_LANES; k++)
            if ((round == 0 && k == 0) || err[k] < least) {
                least = err[k];
                best = fit[k];
            }
    }
    return best;
}
#endif
