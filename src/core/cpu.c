/* core/cpu: what this processor and its operating system can do. */

#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #define HYBRID__X86 1
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #define HYBRID__ARM 1
#endif

/* Compilers that know vpdpbusd of 256 bits without AVX-512. */
#if defined(HYBRID__X86)
    #if defined(__apple_build_version__)
        #define HYBRID__AVXVNNI_COMPILER (__clang_major__ >= 13)
    #elif defined(__clang__)
        #define HYBRID__AVXVNNI_COMPILER (__clang_major__ >= 12)
    #elif defined(__GNUC__)
        #define HYBRID__AVXVNNI_COMPILER (__GNUC__ >= 11)
    #else
        #define HYBRID__AVXVNNI_COMPILER (_MSC_VER >= 1930)
    #endif
    #if HYBRID__AVXVNNI_COMPILER
        #define HYBRID__AVXVNNI 1
    #endif
#endif

/* The ISA classes that kernels are written for. Generic runs everywhere, AVX2 wherever AVX-VNNI or AVX-512 does. */
typedef enum hybrid__isa {
    HYBRID__ISA_GENERIC, HYBRID__ISA_AVX2, HYBRID__ISA_AVXVNNI, HYBRID__ISA_AVX512, HYBRID__ISA_NEON, HYBRID__ISA_COUNT
} hybrid__isa;

static const char *hybrid__isa_name(hybrid__isa isa)
{
    static const char *const names[] = { "generic", "avx2", "avxvnni", "avx512", "neon" };
    return (unsigned)isa < HYBRID__ISA_COUNT ? names[isa] : "?";
}

#if defined(HYBRID__X86)
static void hybrid__cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
#if defined(_MSC_VER) && !defined(__clang__)
    int v[4];
    __cpuidex(v, (int)leaf, (int)sub);
    r[0] = (uint32_t)v[0]; r[1] = (uint32_t)v[1]; r[2] = (uint32_t)v[2]; r[3] = (uint32_t)v[3];
#else
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
#endif
}
static uint64_t hybrid__xgetbv(void)
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
static bool hybrid__cpu_avxvnni(void)
{
#if defined(HYBRID__AVXVNNI)
    uint32_t r[4];
    hybrid__cpuid(7, 0, r);
    if (r[0] < 1) return false;
    hybrid__cpuid(7, 1, r);
    return (r[0] & 1u << 4) != 0;
#else
    return false;
#endif
}

/* AVX2 class: AVX2 + FMA + F16C. AVX512 class: F, BW, DQ, VL + VNNI (+ all of AVX2). Both also need the OS to save the registers. */
static hybrid__isa hybrid__cpu_isa(void)
{
#if defined(HYBRID__X86)
    uint32_t r[4], max;
    uint64_t xcr;
    hybrid__cpuid(0, 0, r);
    max = r[0];
    if (max < 7) return HYBRID__ISA_GENERIC;
    hybrid__cpuid(1, 0, r);
    if (!(r[2] & 1u << 27) || !(r[2] & 1u << 28) || !(r[2] & 1u << 12) || !(r[2] & 1u << 29)) return HYBRID__ISA_GENERIC;
    xcr = hybrid__xgetbv();
    if ((xcr & 6) != 6) return HYBRID__ISA_GENERIC;
    hybrid__cpuid(7, 0, r);
    if (!(r[1] & 1u << 5)) return HYBRID__ISA_GENERIC;
    if ((r[1] & 1u << 16) && (r[1] & 1u << 17) && (r[1] & 1u << 30) && (r[1] & 1u << 31) && (r[2] & 1u << 11) && (xcr & 0xE6) == 0xE6)
        return HYBRID__ISA_AVX512;
    return hybrid__cpu_avxvnni() ? HYBRID__ISA_AVXVNNI : HYBRID__ISA_AVX2;
#elif defined(HYBRID__ARM)
    return HYBRID__ISA_NEON;
#else
    return HYBRID__ISA_GENERIC;
#endif
}

/* The best class that is at most `want` and runs on a processor whose best is `have`; a class of other processors
 * limits nothing. */
static hybrid__isa hybrid__isa_limit(hybrid__isa want, hybrid__isa have)
{
    if (want >= have || (have == HYBRID__ISA_NEON && want != HYBRID__ISA_GENERIC)) return have;
    return want == HYBRID__ISA_AVXVNNI && !hybrid__cpu_avxvnni() ? HYBRID__ISA_AVX2 : want;
}
