/* hybrid_cuda 0.1.0: hybrid.h on an NVIDIA GPU. No CUDA toolkit is needed to build, none of its files is included.
 *
 * MADE FROM src/ BY amalgamate.py (source id b9970cd12240f76d): edit there, not here.
 *
 *     #define HYBRID_IMPLEMENTATION
 *     #include "hybrid.h"
 *     #include "hybrid_cuda.h"
 *
 * That is all: models now use the GPU when there is one, and the CPU when not. At run time the driver is looked for, then NVRTC (it compiles the
 * kernels below for the GPU that is found) and cuBLAS; both come with the CUDA toolkit or with the PyPI packages nvidia-cuda-nvrtc and
 * nvidia-cublas. What is missing is said in the log and by hybrid_devices(); the program runs on. Which device, and how much of its memory: see
 * hybrid_runtime_desc. Linux and Windows, 64 bit. Take both headers from the same release.
 *
 * CONTENTS (line, file)
 *
 *   src/core: errors, memory, threads, files, processor features, random numbers
 *       33  begin.h            opens the implementation: system headers, and what the compilers are told about this part of...
 *       96  macros.h           what compilers call things, and the macros that every room uses
 *      134  end.h              closes what core/begin opened
 */
#ifndef HYBRID_CUDA_H
#define HYBRID_CUDA_H
#ifndef HYBRID_H
    #error "hybrid_cuda.h adds a GPU to hybrid.h: include hybrid.h first"
#endif
#endif

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_CUDA_IMPLEMENTED
#define HYBRID_CUDA_IMPLEMENTED
#define HYBRID_CUDA__SOURCE_ID "b9970cd12240f76d"

/* ==== begin src/core/begin.h ==== */
/* core/begin: opens the implementation: system headers, and what the compilers are told about this part of the file only. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
        #define HYBRID__WIN32_LEAN
    #endif
    #ifndef NOMINMAX
        #define NOMINMAX
        #define HYBRID__NOMINMAX
    #endif
    #include <windows.h>
    #ifdef _MSC_VER
        #include <intrin.h>
    #endif
#else
    #include <fcntl.h>
    #include <sys/mman.h>
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
    #pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-function"
    #pragma GCC diagnostic ignored "-Wmaybe-uninitialized"    /* arrays of registers, set in loops that gcc warns about before it unrolls them */
    #pragma GCC push_options
    #pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
    #pragma warning(push, 3)
    #pragma fp_contract(off)
#endif
#if defined(__FAST_MATH__)
    #error "hybrid: -ffast-math breaks the promise of equal results (and NaN checks); compile the file with the implementation without it"
#endif
/* ==== end src/core/begin.h ==== */

/* ==== begin src/core/macros.h ==== */
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

/* A failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); see core/base.c. */
#define hybrid__fail(err, result, ...) hybrid__fail_at(err, result, 0, __VA_ARGS__)
#define hybrid__fail_memory(err, bytes) \
    hybrid__fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", (unsigned long long)(bytes))
/* ==== end src/core/macros.h ==== */

/* ==== begin src/core/end.h ==== */
/* core/end: closes what core/begin opened. */
#if defined(__clang__)
    #pragma clang diagnostic pop
    #pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
    #pragma GCC pop_options
    #pragma GCC diagnostic pop
#elif defined(_MSC_VER)
    #pragma warning(pop)
#endif
/* ==== end src/core/end.h ==== */

/* No private macro stays behind. */
#ifdef HYBRID__WIN32_LEAN
    #undef WIN32_LEAN_AND_MEAN
#endif
#ifdef HYBRID__NOMINMAX
    #undef NOMINMAX
#endif
#undef HYBRID_CUDA__SOURCE_ID
#undef HYBRID__COUNT
#undef HYBRID__INLINE
#undef HYBRID__LIKELY
#undef HYBRID__MAX
#undef HYBRID__MIN
#undef HYBRID__NOINLINE
#undef HYBRID__NOMINMAX
#undef HYBRID__PRINTF
#undef HYBRID__RESTRICT
#undef HYBRID__THREADS_POSIX
#undef HYBRID__THREADS_WIN32
#undef HYBRID__UNLIKELY
#undef HYBRID__UNUSED
#undef HYBRID__WIN32_LEAN
#undef hybrid__fail
#undef hybrid__fail_memory
#endif
#endif

/*
 * hybrid is available under two licences: choose the one that you prefer.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE A - MIT No Attribution License (MIT-0)
 *
 * Copyright (c) 2026 the authors of hybrid
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of
 * this software and associated documentation files (the "Software"), to deal in
 * the Software without restriction, including without limitation the rights to
 * use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
 * of the Software, and to permit persons to whom the Software is furnished to do
 * so.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE B - Public Domain (www.unlicense.org)
 *
 * This is free and unencumbered software released into the public domain.
 *
 * Anyone is free to copy, modify, publish, use, compile, sell, or distribute this
 * software, either in source code form or as a compiled binary, for any purpose,
 * commercial or non-commercial, and by any means.
 *
 * In jurisdictions that recognize copyright laws, the author or authors of this
 * software dedicate any and all copyright interest in the software to the public
 * domain. We make this dedication for the benefit of the public at large and to
 * the detriment of our heirs and successors. We intend this dedication to be an
 * overt act of relinquishment in perpetuity of all present and future rights to
 * this software under copyright law.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
 * ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
 * WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
