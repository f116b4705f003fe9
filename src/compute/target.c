/* compute/target: the marks of functions that use instructions beyond the compiler's flags. A function with intrinsics carries one, and so
 * does every helper that is inlined into it. */

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__TARGET_AVX2   __attribute__((target("avx2,fma,f16c")))
    #define HYBRID__TARGET_AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
    #define HYBRID__TARGET_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
    #define HYBRID__TARGET_AMX    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")))
#else
    #define HYBRID__TARGET_AVX2
    #define HYBRID__TARGET_AVXVNNI
    #define HYBRID__TARGET_AVX512
    #define HYBRID__TARGET_AMX
#endif
