/* bandwidth: how fast this machine reads memory, with 1..n threads, as one line of JSON: the roof of decoding. The best
 * of reading plainly and of asking for what comes 2 KB later at the same time: which one wins differs between
 * processors.
 *
 *     cc -O2 tests/bench/bandwidth.c -o build/bandwidth -lpthread && build/bandwidth 2 [huge: in pages of 2 MB] */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
    #include <immintrin.h>
#endif

static char *memory;
static size_t bytes = (size_t)512 << 20;
static int n_threads;
static size_t ahead; /* 0: plainly */
static volatile uint64_t sink;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum(const char *p, size_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    size_t i;
    uint64_t out[4];
    for (i = 0; i + 128 <= n; i += 128) {
        if (ahead) {
            __builtin_prefetch(p + i + ahead);
            __builtin_prefetch(p + i + ahead + 64);
        }
        a = _mm256_add_epi64(a, _mm256_loadu_si256((const __m256i *)(p + i)));
        b = _mm256_add_epi64(b, _mm256_loadu_si256((const __m256i *)(p + i + 32)));
        c = _mm256_add_epi64(c, _mm256_loadu_si256((const __m256i *)(p + i + 64)));
        d = _mm256_add_epi64(d, _mm256_loadu_si256((const __m256i *)(p + i + 96)));
    }
    a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    _mm256_storeu_si256((__m256i *)out, a);
    return out[0] + out[1] + out[2] + out[3];
}
#else
static uint64_t sum(const char *p, size_t n)
{
    uint64_t s[8] = { 0 }, v[8];
    size_t i, k;
    for (i = 0; i + 64 <= n; i += 64) {
        if (ahead) __builtin_prefetch(p + i + ahead);
        memcpy(v, p + i, 64);
        for (k = 0; k < 8; k++) s[k] += v[k];
    }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}
#endif

static void *work(void *arg)
{
    size_t part = bytes / (size_t)n_threads, k = (size_t)(uintptr_t)arg;
    return (void *)(uintptr_t)sum(memory + k * part, part);
}

int main(int argc, char **argv)
{
    int most = argc > 1 ? atoi(argv[1]) : 2, r, i;
    pthread_t thread[64];
    if (most < 1 || most > 64 || !(memory = (char *)malloc(bytes))) return 1;
#if defined(MADV_HUGEPAGE)
    if (argc > 2) { /* of what malloc gave, all but the ends */
        const size_t huge = 2 << 20, skip = huge - (uintptr_t)memory % huge;
        madvise(memory + skip, bytes - skip, MADV_HUGEPAGE);
    }
#endif
    memset(memory, 1, bytes);
    printf("{");
    for (n_threads = 1; n_threads <= most; n_threads++) {
        double best = 0;
        for (r = 0; r < 12; r++) {
            double t = now(), gbs;
            ahead = r % 2 ? 2048 : 0;
            for (i = 1; i < n_threads; i++) pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i);
            sink += (uint64_t)(uintptr_t)work(NULL);
            for (i = 1; i < n_threads; i++) pthread_join(thread[i], NULL);
            gbs = (double)bytes / (now() - t) / 1e9;
            if (gbs > best) best = gbs;
        }
        printf("%s\"read_gb_s_%d\": %.2f", n_threads > 1 ? ", " : "", n_threads, best);
    }
    printf("}\n");
    return 0;
}
