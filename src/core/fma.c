/* core/fma: a * b + c with one rounding. Where the processor has no instruction for it, the C library's may round
 * twice (Windows, i386). */
#ifndef HYB_CORE_FMA_C
#define HYB_CORE_FMA_C
#include "macros.h"

/* The product of two floats is exact in double. To round the sum to a double first misleads the second rounding only
 * where the double lies halfway between two floats, and where the float is subnormal, whose halfway points lie
 * elsewhere. */
HYB_INLINE bool hyb_fma_is_safe(uint64_t sum)
{
    const uint64_t exponent = sum >> 52 & 0x7FF;
    return (sum & 0x1FFFFFFF) != 0x10000000 && exponent >= 1023 - 126;
}

/* The sum rounded to odd: of the two doubles around it the one with the odd last place, which no halfway point has. */
static HYB_NOINLINE float hyb_fma_odd(double product, double c)
{
    double sum = product + c, part = sum - product, lost = (product - (sum - part)) + (c - part);
    uint64_t bits;
    memcpy(&bits, &sum, 8);
    if (!(bits & 1) && (lost > 0 || lost < 0)) bits += (lost > 0) == (sum > 0) ? 1 : (uint64_t)-1; /* NaN is neither */
    memcpy(&sum, &bits, 8);
    return (float)sum;
}

HYB_INLINE float hyb_fma_own(float a, float b, float c)
{
    const double product = (double)a * b, sum = product + c;
    uint64_t bits;
    memcpy(&bits, &sum, 8);
    return HYB_LIKELY(hyb_fma_is_safe(bits)) ? (float)sum : hyb_fma_odd(product, c);
}

#if defined(FP_FAST_FMAF) || defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || \
    defined(__aarch64__)
HYB_INLINE float hyb_fmaf(float a, float b, float c) { return fmaf(a, b, c); }
#else
HYB_INLINE float hyb_fmaf(float a, float b, float c) { return hyb_fma_own(a, b, c); }
#endif
#endif
