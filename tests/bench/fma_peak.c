/* fma_peak: what one thread of this processor can do at most in products of floats, in GFLOP/s: fused multiplications
 * and additions that wait for nothing. Compiled with -O3 -march=native. */
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
typedef float vector __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float vector __attribute__((vector_size(32)));
#else
typedef float vector __attribute__((vector_size(16)));
#endif

enum { SUMS = 12, ROUNDS = 40000000, REPEATS = 7 };

int main(void)
{
    double best = 0;
    int repeat, round, i;
    for (repeat = 0; repeat < REPEATS; repeat++) {
        vector sum[SUMS], factor = { 0 }, other;
        struct timespec from, to;
        double seconds, speed;
        factor = factor + 0.5f;
        other = factor + 0.25f * (float)repeat;
        for (i = 0; i < SUMS; i++) sum[i] = factor * (float)i;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (round = 0; round < ROUNDS; round++) {
            for (i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + other;
            __asm__ volatile("");
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        for (i = 1; i < SUMS; i++) sum[0] += sum[i];
        seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        speed = (double)SUMS * ROUNDS * 2 * (double)(sizeof(vector) / sizeof(float)) / seconds * 1e-9;
        if (sum[0][0] != 0 && speed > best) best = speed; /* so that the sums are wanted */
    }
    printf("%.1f\n", best);
    return 0;
}
