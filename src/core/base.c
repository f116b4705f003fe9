/* core/base: what every room uses: macros of compilers, results, errors, checked sizes. */

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

HYBRID_API const char *hybrid_result_text(hybrid_result result)
{
    switch (result) {
#define HYBRID__X(name, value, text) case name: return text;
        HYBRID_RESULTS(HYBRID__X)
#undef HYBRID__X
        case HYBRID_RESULT_LAST_: break;
    }
    return "unknown result";
}

HYBRID_API const char *hybrid_version(void) { return HYBRID_VERSION; }

#ifndef HYBRID__SOURCE_ID
    #define HYBRID__SOURCE_ID "dev"
#endif
HYBRID_API const char *hybrid_source_id(void) { return HYBRID__SOURCE_ID; }

/* Fills err (if any) and returns result, so that a failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); */
static HYBRID__PRINTF(4, 5) hybrid_result hybrid__fail_at(hybrid_error *err, hybrid_result result, uint64_t offset, const char *format, ...)
{
    va_list args;
    if (!err) return result;
    err->result = result;
    err->offset = offset;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return result;
}
#define hybrid__fail(err, result, ...) hybrid__fail_at(err, result, 0, __VA_ARGS__)
#define hybrid__fail_memory(err, bytes) \
    hybrid__fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", (unsigned long long)(bytes))

/* Checked arithmetic on sizes: false on overflow. */
static bool hybrid__mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}
static bool hybrid__add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}
HYBRID__INLINE size_t hybrid__align(size_t n, size_t to) { return (n + to - 1) / to * to; }
