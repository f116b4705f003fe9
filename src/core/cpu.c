/* core/cpu: what this processor and its operating system can do. */
#ifndef HYB_CORE_CPU_C
#define HYB_CORE_CPU_C
#include "macros.h"

#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #define HYB_X86 1
    #if !defined(HYBRID_NO_AVX512)
        #define HYB_AVX512 1
    #endif
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #define HYB_ARM 1
#endif

/* Compilers that know vpdpbusd of 256 bits without AVX-512. */
#if defined(HYB_X86)
    #if defined(__apple_build_version__)
        #define HYB_AVXVNNI_COMPILER (__clang_major__ >= 13)
    #elif defined(__clang__)
        #define HYB_AVXVNNI_COMPILER (__clang_major__ >= 12)
    #elif defined(__GNUC__)
        #define HYB_AVXVNNI_COMPILER (__GNUC__ >= 11)
    #else
        #define HYB_AVXVNNI_COMPILER (_MSC_VER >= 1930)
    #endif
    #if HYB_AVXVNNI_COMPILER
        #define HYB_AVXVNNI 1
    #endif
#endif

/* The ISA classes that kernels are written for. Generic runs everywhere, AVX2 wherever AVX-VNNI or AVX-512 does. */
typedef enum hyb_isa {
    HYB_ISA_GENERIC,
    HYB_ISA_AVX2,
    HYB_ISA_AVXVNNI,
    HYB_ISA_AVX512,
    HYB_ISA_NEON,
    HYB_ISA_COUNT
} hyb_isa;

static const char *hyb_isa_name(hyb_isa isa)
{
    static const char *const names[] = { "generic", "avx2", "avxvnni", "avx512", "neon" };
    return (unsigned)isa < HYB_ISA_COUNT ? names[isa] : "?";
}

#if defined(HYB_X86)
static void hyb_cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    #if defined(_MSC_VER) && !defined(__clang__)
    int v[4];
    __cpuidex(v, (int)leaf, (int)sub);
    r[0] = (uint32_t)v[0];
    r[1] = (uint32_t)v[1];
    r[2] = (uint32_t)v[2];
    r[3] = (uint32_t)v[3];
    #else
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
    #endif
}
static uint64_t hyb_xgetbv(void)
{
    #if defined(_MSC_VER) && !defined(__clang__)
    return _xgetbv(0);
    #else
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
    #endif
}
#endif

/* AVX-VNNI, on a processor of the AVX2 class. */
static bool hyb_cpu_avxvnni(void)
{
#if defined(HYB_AVXVNNI)
    uint32_t r[4];
    hyb_cpuid(7, 0, r);
    if (r[0] < 1) return false;
    hyb_cpuid(7, 1, r);
    return (r[0] & 1u << 4) != 0;
#else
    return false;
#endif
}

/* AVX2 class: AVX2 + FMA + F16C. AVX512 class: F, BW, DQ, VL + VNNI (+ all of AVX2). Both also need the OS to save
 * the registers. */
static hyb_isa hyb_cpu_isa(void)
{
#if defined(HYB_X86)
    uint32_t r[4], max;
    uint64_t xcr;
    hyb_cpuid(0, 0, r);
    max = r[0];
    if (max < 7) return HYB_ISA_GENERIC;
    hyb_cpuid(1, 0, r);
    if (!(r[2] & 1u << 27) || !(r[2] & 1u << 28) || !(r[2] & 1u << 12) || !(r[2] & 1u << 29)) return HYB_ISA_GENERIC;
    xcr = hyb_xgetbv();
    if ((xcr & 6) != 6) return HYB_ISA_GENERIC;
    hyb_cpuid(7, 0, r);
    if (!(r[1] & 1u << 5)) return HYB_ISA_GENERIC;
    #if defined(HYB_AVX512)
    if ((r[1] & 1u << 16) && (r[1] & 1u << 17) && (r[1] & 1u << 30) && (r[1] & 1u << 31) && (r[2] & 1u << 11) &&
        (xcr & 0xE6) == 0xE6)
        return HYB_ISA_AVX512;
    #endif
    return hyb_cpu_avxvnni() ? HYB_ISA_AVXVNNI : HYB_ISA_AVX2;
#elif defined(HYB_ARM)
    return HYB_ISA_NEON;
#else
    return HYB_ISA_GENERIC;
#endif
}

/* The best class that is at most `want` and runs on a processor whose best is `have`; a class of other processors
 * limits nothing. */
static hyb_isa hyb_isa_limit(hyb_isa want, hyb_isa have)
{
    if (want >= have || (have == HYB_ISA_NEON && want != HYB_ISA_GENERIC)) return have;
    return want == HYB_ISA_AVXVNNI && !hyb_cpu_avxvnni() ? HYB_ISA_AVX2 : want;
}
#endif
