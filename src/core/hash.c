/* core/hash: where a name belongs in a table. Names come from files, and a file must not be able to make them collide:
 * the hash is SipHash-1-3 (Aumasson, Bernstein 2012), a function of a secret key that every runtime draws for itself.
 * So the order of a table differs from run to run, and nothing that hybrid computes or writes may depend on it. */
#ifndef HYB_CORE_HASH_C
#define HYB_CORE_HASH_C
#include "number.c"

typedef struct hyb_hash_key {
    uint64_t k0, k1;
} hyb_hash_key;

#define HYB_ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

HYB_INLINE void hyb_hash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = HYB_ROTATE(v[1], 13) ^ v[0];
    v[3] = HYB_ROTATE(v[3], 16) ^ v[2];
    v[0] = HYB_ROTATE(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = HYB_ROTATE(v[3], 21) ^ v[0];
    v[1] = HYB_ROTATE(v[1], 17) ^ v[2];
    v[2] = HYB_ROTATE(v[2], 32);
}
#undef HYB_ROTATE

/* The hash of n bytes; data may be NULL when n is 0. All 64 bits are good: take those you need. */
static uint64_t hyb_hash(const hyb_hash_key *key, const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data;
    uint64_t v[4], word = (uint64_t)n << 56;
    size_t i;
    v[0] = key->k0 ^ 0x736F6D6570736575u;
    v[1] = key->k1 ^ 0x646F72616E646F6Du;
    v[2] = key->k0 ^ 0x6C7967656E657261u;
    v[3] = key->k1 ^ 0x7465646279746573u;
    for (i = 0; n - i >= 8; i += 8) {
        uint64_t m = hyb_load_u64(p + i);
        v[3] ^= m;
        hyb_hash_round(v);
        v[0] ^= m;
    }
    for (; i < n; i++) word |= (uint64_t)p[i] << 8 * (i % 8);
    v[3] ^= word;
    hyb_hash_round(v);
    v[0] ^= word;
    v[2] ^= 0xFF;
    for (i = 0; i < 3; i++) hyb_hash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* A secret that the author of a file cannot know: the system's random bytes where they can be read, and everywhere
 * the time to the nanosecond and the addresses of stack, heap and code, so that the key differs even without those
 * bytes. */
static void hyb_hash_gather(uint64_t secret[8], const void *heap)
{
    memset(secret, 0, 8 * sizeof secret[0]);
    secret[0] = (uint64_t)(uintptr_t)heap;
    secret[1] = (uint64_t)(uintptr_t)secret;
    secret[2] = (uint64_t)(uintptr_t)&hybrid_version ^ (uint64_t)time(NULL) << 32;
#if defined(_WIN32)
    {
        LARGE_INTEGER ticks;
        FILETIME now;
        QueryPerformanceCounter(&ticks);
        GetSystemTimeAsFileTime(&now);
        secret[3] = (uint64_t)ticks.QuadPart;
        secret[4] = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
        secret[5] = (uint64_t)GetCurrentProcessId() << 32 | GetCurrentThreadId();
    }
#else
    {
        struct timeval now;
        secret[3] = (uint64_t)clock();
        if (!gettimeofday(&now, NULL)) secret[4] = (uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_usec;
        secret[5] = (uint64_t)getpid();
    }
    #ifndef HYBRID_NO_STDIO
    {
        const int fd = open("/dev/urandom", O_RDONLY | O_NONBLOCK);
        if (fd >= 0) {
            if (read(fd, &secret[6], 2 * sizeof secret[0]) < 0) secret[6] = 0;
            close(fd);
        }
    }
    #endif
#endif
}

/* A key of its own for the object at this address. */
static hyb_hash_key hyb_hash_key_make(const void *object)
{
    static const hyb_hash_key first = { 1, 1 }, second = { 2, 2 };
    uint64_t secret[8];
    hyb_hash_key key;
    hyb_hash_gather(secret, object);
    key.k0 = hyb_hash(&first, secret, sizeof secret);
    key.k1 = hyb_hash(&second, secret, sizeof secret);
    return key;
}
#endif
