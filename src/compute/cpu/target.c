/* compute/cpu/target: the marks of functions that use instructions beyond the compiler's flags. A function with
 * intrinsics carries one, and so does every helper that is inlined into it. */
#ifndef HYB_COMPUTE_CPU_TARGET_C
#define HYB_COMPUTE_CPU_TARGET_C
#include "../../core/macros.h"

#if defined(__GNUC__) || defined(__clang__)
    /* Compilers take minutes and gigabytes to check every intrinsic for undefined behaviour. clang leaves it; gcc, with
     * AddressSanitizer beside it, leaves what that sees as well, when the memory is touched. */
    #if defined(__clang__)
        #define HYB_TARGET(isa) __attribute__((target(isa), no_sanitize("undefined")))
    #elif defined(__SANITIZE_ADDRESS__) && __GNUC__ >= 8
        #define HYB_TARGET(isa) __attribute__((target(isa), no_sanitize("null,object-size,pointer-overflow")))
    #else
        #define HYB_TARGET(isa) __attribute__((target(isa)))
    #endif
    #define HYB_TARGET_AVX2    HYB_TARGET("avx2,fma,f16c")
    #define HYB_TARGET_AVXVNNI HYB_TARGET("avx2,fma,f16c,avxvnni")
    #define HYB_TARGET_AVX512  HYB_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
    #define HYB_TARGET_AMX \
        HYB_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")
    #define HYB_ALIGN64        __attribute__((aligned(64)))
#else
    #define HYB_TARGET_AVX2
    #define HYB_TARGET_AVXVNNI
    #define HYB_TARGET_AVX512
    #define HYB_TARGET_AMX
    #define HYB_ALIGN64 __declspec(align(64))
#endif
#endif
