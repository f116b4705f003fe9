/* core/random: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): a number
 * is a function of (seed, stream, counter), so it depends on no thread, no batch and no device. */
#ifndef HYB_CORE_RANDOM_C
#define HYB_CORE_RANDOM_C
#include "macros.h"

static void hyb_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4])
{
    uint32_t c[4], k[2];
    int i;
    c[0] = (uint32_t)counter;
    c[1] = (uint32_t)(counter >> 32);
    c[2] = (uint32_t)stream;
    c[3] = (uint32_t)(stream >> 32);
    k[0] = (uint32_t)seed;
    k[1] = (uint32_t)(seed >> 32);
    for (i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k[0], n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k[1];
        c[1] = (uint32_t)p1;
        c[3] = (uint32_t)p0;
        c[0] = n0;
        c[2] = n2;
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* Uniform in [0, 1), 53 bits. */
static double hyb_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t r[4];
    hyb_philox(seed, stream, counter, r);
    return (double)(((uint64_t)r[0] << 32 | r[1]) >> 11) * (1.0 / 9007199254740992.0);
}
#endif
