/* core/macros: what compilers call things, and the macros that every room uses. */
#ifndef HYB_CORE_MACROS_H
#define HYB_CORE_MACROS_H
#include "../api/base.h"
#include "begin.h"

#define HYB_UNUSED(x) ((void)(x))
#define HYB_COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define HYB_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HYB_MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__) || defined(__clang__)
    #define HYB_INLINE            static inline __attribute__((always_inline))
    #define HYB_NOINLINE          __attribute__((noinline))
    #define HYB_LIKELY(x)         __builtin_expect(!!(x), 1)
    #define HYB_UNLIKELY(x)       __builtin_expect(!!(x), 0)
    #define HYB_RESTRICT          __restrict__
    #define HYB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
    #define HYB_INLINE      static __forceinline
    #define HYB_NOINLINE    __declspec(noinline)
    #define HYB_LIKELY(x)   (x)
    #define HYB_UNLIKELY(x) (x)
    #define HYB_RESTRICT    __restrict
    #define HYB_PRINTF(fmt, args)
#endif

/* Cold rooms run once for a file or a message, cool ones once for a step of training, tepid ones once for a token or a
 * layer, and none of them once for a value. Compilers that optimize are told to be quick about them. What is cold is
 * not optimized at all: a chat is rendered in 1.5 times the time (0.2 ms for 200 messages). Of the others gcc leaves
 * out the passes that are named: they cost the most and do the least for such code (all of them are older than gcc 5,
 * and stacks do not grow). clang cannot leave out single passes. */
#if defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && defined(__clang__)
    #define HYB_COLD_BEGIN  _Pragma("clang optimize off")
    #define HYB_COLD_END    _Pragma("clang optimize on")
    #define HYB_COOL_BEGIN  HYB_COLD_BEGIN
    #define HYB_COOL_END    HYB_COLD_END
    #define HYB_TEPID_BEGIN _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
    #define HYB_TEPID_END   _Pragma("clang attribute pop")
#elif defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && defined(__GNUC__)
    #define HYB_COLD_BEGIN \
        _Pragma("GCC push_options") _Pragma("GCC optimize(\"O0\", \"fp-contract=off\")")
    #define HYB_COLD_END    _Pragma("GCC pop_options")
    #define HYB_TEPID_BEGIN \
        _Pragma("GCC push_options") _Pragma("GCC optimize(\"O1\", \"fp-contract=off\")") \
        _Pragma("GCC optimize(\"no-tree-dominator-opts\", \"no-tree-fre\", \"no-ivopts\", \"no-tree-pta\")") \
        _Pragma("GCC optimize(\"no-guess-branch-probability\", \"no-forward-propagate\", \"no-tree-loop-optimize\")")
    #define HYB_TEPID_END   _Pragma("GCC pop_options")
    #define HYB_COOL_BEGIN  HYB_TEPID_BEGIN
    #define HYB_COOL_END    HYB_TEPID_END
#else
    #define HYB_COLD_BEGIN
    #define HYB_COLD_END
    #define HYB_COOL_BEGIN
    #define HYB_COOL_END
    #define HYB_TEPID_BEGIN
    #define HYB_TEPID_END
#endif

#ifndef HYBRID_NO_THREADS
    #if defined(_WIN32)
        #define HYB_THREADS_WIN32
    #else
        #define HYB_THREADS_POSIX
    #endif
#endif

/* Files are little-endian, and so is every machine that hybrid runs on. Tests define it to pretend otherwise. */
#ifndef HYB_BIG_ENDIAN
    #if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
        #define HYB_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    #else
        #define HYB_BIG_ENDIAN 0
    #endif
#endif

/* Marks work whose amount a foreign file chooses. Tests define it to count; the library itself has no counter. */
#ifndef HYB_STEPS
    #define HYB_STEPS(n) ((void)0)
#endif

/* A failing line reads: return hyb_fail(err, HYBRID_ERROR_FORMAT, "..."); see core/base.c. */
#define hyb_fail(err, result, ...) hyb_fail_at(err, result, 0, __VA_ARGS__)
#define hyb_fail_memory(err, bytes) \
    hyb_fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", \
                (unsigned long long)(bytes))
#endif
