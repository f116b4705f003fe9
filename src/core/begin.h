/* core/begin: opens the implementation: system headers, and what the compilers are told about this part of the file
 * only. */
#ifndef HYB_CORE_BEGIN_H
#define HYB_CORE_BEGIN_H
#if defined(__TINYC__)
    #error "hybrid: tcc cannot compile the implementation (no atomic operations): compile that file with gcc or clang"
#elif !defined(__GNUC__) && !defined(__clang__) && !defined(_MSC_VER)
    #error "hybrid: compile the file with the implementation with gcc, clang or MSVC: this compiler is another"
#endif
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
        #define HYB_WIN32_LEAN
    #endif
    #ifndef NOMINMAX
        #define NOMINMAX
        #define HYB_NOMINMAX
    #endif
    #include <windows.h>
    #ifdef _MSC_VER
        #include <intrin.h>
    #endif
#else
    #include <dirent.h>
    #include <fcntl.h>
    #include <signal.h>
    #include <sys/mman.h>
    #include <sys/select.h>
    #include <sys/stat.h>
    #include <sys/time.h>
    #include <unistd.h>
    #ifndef HYBRID_NO_THREADS
        #include <pthread.h>
        #include <sched.h>
    #endif
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #include <immintrin.h>
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #include <arm_neon.h>
    #if defined(__linux__)
        #include <sys/auxv.h>
    #endif
#endif

/* Determinism: products and sums are fused only where the code says fma. */
#if defined(__clang__)
    #pragma clang diagnostic push
    #pragma clang diagnostic ignored "-Wunused-function"
    #if defined(__cplusplus) && __cplusplus > 201703L /* enumerations are C's: numbers like others */
        #pragma clang diagnostic ignored "-Wdeprecated"
    #endif
    #pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-function"
    #if defined(__cplusplus) && __cplusplus > 201703L && __GNUC__ >= 10 /* enumerations are C's: numbers like others */
        #pragma GCC diagnostic ignored "-Wdeprecated-enum-enum-conversion"
        #pragma GCC diagnostic ignored "-Wdeprecated-enum-float-conversion"
    #endif
    #ifdef __cplusplus
        /* intrinsics that begin with '__m512 __Y = __Y', in g++ only */
        #pragma GCC diagnostic ignored "-Wuninitialized"
    #endif
    /* arrays of registers, set in loops that gcc warns about before it unrolls them */
    #pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
    #pragma GCC push_options
    #pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
    #pragma warning(push, 3)
    #pragma fp_contract(off)
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
    #error "hybrid: -ffast-math and its parts break equal results and NaN checks: compile this file without them"
#endif
/* A float operation must give a float: where sums are kept wider (x87), rounding by adding 1.5 * 2^23 and much else
 * goes wrong without a word. */
#if defined(__FLT_EVAL_METHOD__)
    #if __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
        #define HYB_EXCESS_PRECISION
    #endif
#elif defined(_MSC_VER) && defined(_M_IX86)
    #if !defined(_M_IX86_FP) || _M_IX86_FP < 2
        #define HYB_EXCESS_PRECISION
    #endif
#elif !defined(_MSC_VER) && defined(FLT_EVAL_METHOD)
    #if FLT_EVAL_METHOD != 0
        #define HYB_EXCESS_PRECISION
    #endif
#endif
#if defined(HYB_EXCESS_PRECISION)
    #error "hybrid: excess precision (x87) gives wrong results: add -msse2 -mfpmath=sse (MSVC: /arch:SSE2)"
#endif
#endif
