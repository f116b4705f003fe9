/* core/number: half and brain floats, bit casts, loads of little-endian bytes at any alignment. */
#ifndef HYB_CORE_NUMBER_C
#define HYB_CORE_NUMBER_C
#include "macros.h"

HYB_INLINE uint32_t hyb_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
HYB_INLINE float hyb_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* IEEE half -> float, exact, subnormals included; NaN payloads are kept. */
HYB_INLINE float hyb_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
    if (exp == 31) return hyb_bits_f32(sign | 0x7F800000u | (man ? 0x400000u : 0) | (man << 13));
    if (exp == 0) {
        float f = (float)man * 5.9604644775390625e-8f; /* man * 2^-24 */
        return sign ? -f : f;
    }
    return hyb_bits_f32(sign | ((exp + 112) << 23) | (man << 13));
}

/* float -> IEEE half, round to nearest even, as F16C does it. */
HYB_INLINE uint16_t hyb_f32_to_f16(float f)
{
    uint32_t u = hyb_f32_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | ((a >> 13) & 0x3FFu));
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* rounds to infinity */
    if (a < 0x38800000u) {                                   /* subnormal half */
        float v = hyb_bits_f32(a) + 0.5f;                    /* the adder rounds for us: ulp of 0.5 is 2^-24 */
        return (uint16_t)(sign | (hyb_f32_bits(v) - 0x3F000000u));
    }
    a += 0xC8000FFFu + ((a >> 13) & 1); /* rebias by -112, round to even */
    return (uint16_t)(sign | (a >> 13));
}

HYB_INLINE float hyb_bf16_to_f32(uint16_t h) { return hyb_bits_f32((uint32_t)h << 16); }
HYB_INLINE uint16_t hyb_f32_to_bf16(float f)
{
    uint32_t u = hyb_f32_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)((u >> 16) | 64); /* NaN stays NaN */
    return (uint16_t)((u + 0x7FFFu + ((u >> 16) & 1)) >> 16);
}

/* Files are little-endian; so is every machine that hybrid runs on today. These only deal with alignment. */
HYB_INLINE uint16_t hyb_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
HYB_INLINE uint32_t hyb_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
HYB_INLINE uint64_t hyb_load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
HYB_INLINE float hyb_load_f32(const void *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}
HYB_INLINE void hyb_store_u16(void *p, uint16_t v) { memcpy(p, &v, 2); }
HYB_INLINE void hyb_store_u32(void *p, uint32_t v) { memcpy(p, &v, 4); }
HYB_INLINE void hyb_store_u64(void *p, uint64_t v) { memcpy(p, &v, 8); }

/* ln x of a positive, normal x. The C library's differs from machine to machine in the last place. */
static double hyb_plain_log(double x)
{
    int exponent, i;
    double s, s2, sum = 0;
    x = frexp(x, &exponent);
    if (x < 0.70710678118654752) {
        x *= 2;
        exponent--;
    }
    s = (x - 1) / (x + 1); /* ln x = 2 (s + s^3 / 3 + s^5 / 5 + ...), |s| <= 0.172 */
    s2 = s * s;
    for (i = 21; i >= 1; i -= 2) sum = sum * s2 + 1.0 / i;
    return exponent * 0.69314718055994531 + 2 * s * sum;
}
#endif
