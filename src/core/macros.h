/* core/macros: what compilers call things, and the macros that every room uses. */

#define HYBRID__UNUSED(x) ((void)(x))
#define HYBRID__COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HYBRID__MIN(a, b) ((a) < (b) ? (a) : (b))
#define HYBRID__MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__INLINE static inline __attribute__((always_inline))
    #define HYBRID__NOINLINE __attribute__((noinline))
    #define HYBRID__LIKELY(x) __builtin_expect(!!(x), 1)
    #define HYBRID__UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define HYBRID__RESTRICT __restrict__
    #define HYBRID__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
    #define HYBRID__INLINE static __forceinline
    #define HYBRID__NOINLINE __declspec(noinline)
    #define HYBRID__LIKELY(x) (x)
    #define HYBRID__UNLIKELY(x) (x)
    #define HYBRID__RESTRICT __restrict
    #define HYBRID__PRINTF(fmt, args)
#endif

#ifndef HYBRID_NO_THREADS
    #if defined(_WIN32)
        #define HYBRID__THREADS_WIN32
    #else
        #define HYBRID__THREADS_POSIX
    #endif
#endif

/* Files are little-endian, and so is every machine that hybrid runs on. Tests define it to pretend otherwise. */
#ifndef HYBRID__BIG_ENDIAN
    #if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
        #define HYBRID__BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    #else
        #define HYBRID__BIG_ENDIAN 0
    #endif
#endif

/* Marks work whose amount a foreign file chooses. Tests define it to count; the library itself has no counter. */
#ifndef HYBRID__STEPS
    #define HYBRID__STEPS(n) ((void)0)
#endif

/* A failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); see core/base.c. */
#define hybrid__fail(err, result, ...) hybrid__fail_at(err, result, 0, __VA_ARGS__)
#define hybrid__fail_memory(err, bytes) \
    hybrid__fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", (unsigned long long)(bytes))
