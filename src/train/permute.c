/* train/permute: the numbers 0..n-1 in an order that a seed decides, each of them found in constant time and no memory.
 * A Feistel network (Luby, Rackoff 1988) is a bijection of the numbers of `bits` bits, whatever its round function; an
 * n that is not a power of two is walked to: what falls beyond n goes through once more, until it falls inside (Black,
 * Rogaway 2002). bits is the least that holds n, so that takes less than two walks on average. */
#ifndef HYB_TRAIN_PERMUTE_C
#define HYB_TRAIN_PERMUTE_C
#include "../core/random.c"

enum { HYB_PERMUTE_ROUNDS = 8 };

/* x has high + low bits, low of them on the right; each round mixes the right half into the left one and swaps. */
static uint64_t hyb_permute_bits(uint64_t seed, uint64_t stream, uint64_t x, int high, int low)
{
    uint32_t random[4];
    int round, swap;
    for (round = 0; round < HYB_PERMUTE_ROUNDS; round++) {
        const uint64_t right = x & (((uint64_t)1 << low) - 1);
        uint64_t left = x >> low;
        hyb_philox(seed, stream, right << 8 | (uint64_t)round, random);
        left ^= ((uint64_t)random[1] << 32 | random[0]) & (((uint64_t)1 << high) - 1);
        x = right << high | left;
        swap = high;
        high = low;
        low = swap;
    }
    return x;
}

/* Where number i < n stands in the order of (seed, stream). */
static uint64_t hyb_permute(uint64_t seed, uint64_t stream, uint64_t n, uint64_t i)
{
    int bits = 1;
    while (bits < 63 && (n - 1) >> bits) bits++;
    do i = hyb_permute_bits(seed, stream, i, bits - bits / 2, bits / 2);
    while (i >= n);
    return i;
}
#endif
