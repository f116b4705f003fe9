/* infer/weigh: what logits weigh in a draw: e^(logit / temperature), as a part of that of the best. */
#ifndef HYB_INFER_WEIGH_C
#define HYB_INFER_WEIGH_C
#include "../core/cpu.c"
#include "../core/number.c"

#define HYB_WEIGH_SMALL -8.0 /* what weighs less than e^-8 of the best is weighed in single precision */

/* e^z for z in -700..0, relative error below 1e-13: z = n ln 2 + r, a polynomial in r, |r| <= ln 2 / 2. */
HYB_INLINE double hyb_exp_negative(double z)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, in the low bits */
    double t = z * 1.4426950408889634 + magic, n = t - magic,
           r = z - n * 6.93147180369123816e-01 - n * 1.90821492927058770e-10, p;
    uint64_t bits, power;
    p = 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    memcpy(&power, &t, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 52; /* times 2^n */
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* 2^(y + low) for y in -120..0 and a tiny low, relative error below 1e-6: as above, in single precision. */
HYB_INLINE float hyb_exp2_small(float y, float low)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    const float t = y + magic, r = (y - (t - magic)) + low;
    const float r2 = r * r; /* the coefficients are (ln 2)^n / n! */
    float p = ((1.52527338e-5f * r + 1.54035304e-4f) * r2 + (1.33335581e-3f * r + 9.61812911e-3f)) * (r2 * r2) +
              ((5.55041087e-2f * r + 0.240226507f) * r2 + (0.693147181f * r + 1.0f));
    uint32_t bits, power;
    memcpy(&power, &t, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 23; /* times 2^n */
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* Sums in an order that compilers turn into vector code. */
HYB_INLINE double hyb_sum64(const double *x)
{
    double a[32], b[16], c[8];
    int i;
    for (i = 0; i < 32; i++) a[i] = x[i] + x[i + 32];
    for (i = 0; i < 16; i++) b[i] = a[i] + a[i + 16];
    for (i = 0; i < 8; i++) c[i] = b[i] + b[i + 8];
    return ((c[0] + c[4]) + (c[1] + c[5])) + ((c[2] + c[6]) + (c[3] + c[7]));
}
HYB_INLINE double hyb_sum64_small(const float *x)
{
    float a[32], b[16], c[8];
    int i;
    for (i = 0; i < 32; i++) a[i] = x[i] + x[i + 32];
    for (i = 0; i < 16; i++) b[i] = a[i] + a[i + 16];
    for (i = 0; i < 8; i++) c[i] = b[i] + b[i + 8];
    return (double)(((c[0] + c[4]) + (c[1] + c[5])) + ((c[2] + c[6]) + (c[3] + c[7])));
}

/* How logits weigh: e^((x - base) * rate); single precision will do for those below small; those below low are out. */
typedef struct hyb_scale {
    double base, rate;
    float small, low;
} hyb_scale;

/* What 64 logits weigh. Most tokens weigh next to nothing, and there a part in a million is less than the rounding of
 * their logits: that is quick. What a token weighs does not depend on its neighbours. Loops of a constant length, which
 * compilers turn into vector code. */
HYB_INLINE int hyb_weigh_small(const float *x, const hyb_scale *s, float *weight)
{
    const double scale = s->rate * 1.4426950408889634;
    const float max = (float)s->base, most = (float)scale, rest = (float)(scale - (double)most), small = s->small;
    int n_large = 0, i;
    for (i = 0; i < 64; i++) n_large += x[i] >= small;
    for (i = 0; i < 64; i++) weight[i] = hyb_exp2_small((x[i] - max) * most, (x[i] - max) * rest);
    return n_large;
}
HYB_INLINE void hyb_weigh_large(const float *x, const hyb_scale *s, double *weight)
{
    const double base = s->base, rate = s->rate;
    double z[64];
    int i;
    for (i = 0; i < 64; i++) z[i] = ((double)x[i] - base) * rate;
    for (i = 0; i < 64; i++) weight[i] = hyb_exp_negative(z[i]);
}

/* The weights of 64 logits. */
HYB_INLINE void hyb_weigh(const float *x, const hyb_scale *s, double *weight)
{
    float w[64];
    const int n_large = hyb_weigh_small(x, s, w);
    int i;
    if (n_large > 8) {
        for (i = 0; i < 64; i++) w[i] = x[i] >= s->small ? 0.0f : w[i];
        hyb_weigh_large(x, s, weight);
        for (i = 0; i < 64; i++) weight[i] = w[i] > 0.0f ? (double)w[i] : weight[i];
        return;
    }
    for (i = 0; i < 64; i++) weight[i] = (double)w[i];
    for (i = 0; i < 64 && n_large; i++)
        if (x[i] >= s->small) weight[i] = hyb_exp_negative(((double)x[i] - s->base) * s->rate);
}

/* The sum of the weights of 64 logits, and that of weight times (x - base) (moment may be NULL), of those that are not
 * below low. */
HYB_INLINE double hyb_weigh_sum(const float *x, const hyb_scale *s, double *moment)
{
    const float max = (float)s->base, small = s->small, low = s->low;
    float w[64], v[64];
    double weight[64], sum;
    const int n_large = hyb_weigh_small(x, s, w);
    int i;
    for (i = 0; i < 64; i++) w[i] = x[i] < low ? 0.0f : w[i];
    for (i = 0; i < 64; i++) w[i] = x[i] >= small ? 0.0f : w[i];
    sum = hyb_sum64_small(w);
    if (moment) {
        for (i = 0; i < 64; i++) v[i] = x[i] < low ? max : x[i];
        for (i = 0; i < 64; i++) v[i] = (v[i] - max) * w[i];
        *moment = hyb_sum64_small(v);
    }
    if (!n_large) return sum;
    if (n_large > 8)
        hyb_weigh_large(x, s, weight);
    else
        for (i = 0; i < 64; i++)
            if (x[i] >= small) weight[i] = hyb_exp_negative(((double)x[i] - s->base) * s->rate);
    for (i = 0; i < 64; i++)
        if (x[i] >= small && x[i] >= low) {
            sum += weight[i];
            if (moment) *moment += weight[i] * ((double)x[i] - s->base);
        }
    return sum;
}

static void hyb_weigh_generic(const float *x, const hyb_scale *s, double *weight) { hyb_weigh(x, s, weight); }
static double hyb_weigh_sum_generic(const float *x, const hyb_scale *s, double *moment)
{
    return hyb_weigh_sum(x, s, moment);
}
/* The same bits: no instruction that rounds otherwise. */
#if defined(HYB_X86) && (defined(__GNUC__) || defined(__clang__))
    #define HYB_WEIGH_AVX2 __attribute__((target("avx2")))
HYB_WEIGH_AVX2 static void hyb_weigh_avx2(const float *x, const hyb_scale *s, double *weight)
{
    hyb_weigh(x, s, weight);
}
HYB_WEIGH_AVX2 static double hyb_weigh_sum_avx2(const float *x, const hyb_scale *s, double *moment)
{
    return hyb_weigh_sum(x, s, moment);
}
#else
    #define hyb_weigh_avx2     hyb_weigh_generic
    #define hyb_weigh_sum_avx2 hyb_weigh_sum_generic
#endif
#endif
