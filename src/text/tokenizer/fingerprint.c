/* text/tokenizer/fingerprint: the hash of tokens, a polynomial over their bytes at a secret point. Two things are asked
 * of it. A file must not be able to make its tokens collide: of two different strings of at most n bytes, n of the 2^61
 * points give both the same value, and the point is a function of the runtime's key. And a token that grows byte by
 * byte must not be read again at every step: the value of two strings, one after the other, follows from theirs in one
 * multiplication. */
#ifndef HYB_TEXT_TOKENIZER_FINGERPRINT_C
#define HYB_TEXT_TOKENIZER_FINGERPRINT_C
#include "../../core/macros.h"

#define HYB_PRINT_PRIME ((UINT64_C(1) << 61) - 1)

/* a * b modulo 2^61 - 1; both are less than it. */
HYB_INLINE uint64_t hyb_print_mul(uint64_t a, uint64_t b)
{
    uint64_t low, high, sum;
#if defined(__SIZEOF_INT128__)
    __extension__ const unsigned __int128 product = (unsigned __int128)a * b;
    low = (uint64_t)product & HYB_PRINT_PRIME;
    high = (uint64_t)(product >> 61);
#else
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t p00 = a0 * b0, middle = a0 * b1 + a1 * b0, p11 = a1 * b1; /* middle < 2^62: a1 and b1 have 29 bits */
    const uint64_t bottom = p00 + (middle << 32);
    const uint64_t top = p11 + (middle >> 32) + (bottom < p00);
    low = bottom & HYB_PRINT_PRIME;
    high = top << 3 | bottom >> 61;
#endif
    sum = low + high;
    return sum >= HYB_PRINT_PRIME ? sum - HYB_PRINT_PRIME : sum;
}

/* The fingerprint of x and then y; power: point ^ bytes of y. */
HYB_INLINE uint64_t hyb_print_join(uint64_t x, uint64_t power, uint64_t y)
{
    const uint64_t sum = hyb_print_mul(x, power) + y;
    return sum >= HYB_PRINT_PRIME ? sum - HYB_PRINT_PRIME : sum;
}

/* point ^ n */
HYB_INLINE uint64_t hyb_print_power(uint64_t point, size_t n)
{
    uint64_t power = 1;
    for (; n; n >>= 1) {
        if (n & 1) power = hyb_print_mul(power, point);
        point = hyb_print_mul(point, point);
    }
    return power;
}

#define HYB_PRINT_BLOCK 64

/* Where fingerprints are taken. */
typedef struct hyb_print_point {
    uint64_t powers[HYB_PRINT_BLOCK + 1]; /* of the point */
} hyb_print_point;

static void hyb_print_point_make(hyb_print_point *point, uint64_t secret)
{
    size_t i;
    secret = 512 + secret % (HYB_PRINT_PRIME - 1024);
    for (i = 0; i <= HYB_PRINT_BLOCK; i++) point->powers[i] = hyb_print_power(secret, i);
}

/* point ^ n */
HYB_INLINE uint64_t hyb_print_power_at(const hyb_print_point *point, size_t n)
{
    return n <= HYB_PRINT_BLOCK ? point->powers[n] : hyb_print_power(point->powers[1], n);
}

/* n bytes; the empty string has 0, and every byte counts one more than it is, so that zeros in front count too. A block
 * is summed by the halves of the powers, 32 and 29 bits, which leaves room for all carries. */
HYB_INLINE uint64_t hyb_print_of(const hyb_print_point *point, const uint8_t *p, size_t n)
{
    uint64_t h = 0;
    HYB_STEPS(1 + n / 8);
    for (;;) {
        const size_t k = HYB_MIN(n, (size_t)HYB_PRINT_BLOCK);
        const uint64_t *power = point->powers + k;
        uint64_t low = 0, high = 0, sum;
        size_t i;
        for (i = 0; i < k; i++) {
            const uint32_t digit = p[i] + 1u;
            power--;
            low += (uint64_t)digit * (uint32_t)*power;          /* < 2^47 in all */
            high += (uint64_t)digit * (uint32_t)(*power >> 32); /* < 2^44 */
        }
        sum = low + (high >> 29) + ((high & 0x1FFFFFFF) << 32);
        if (sum >= HYB_PRINT_PRIME) sum -= HYB_PRINT_PRIME;
        h = h ? hyb_print_join(h, point->powers[k], sum) : sum;
        if (k == n) return h;
        p += k;
        n -= k;
    }
}
#endif
