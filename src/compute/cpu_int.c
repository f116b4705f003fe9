/* compute/cpu_int: the table of integer-block kernels. */

#define HYBRID__INT_KERNELS(isa)                                          \
    switch (type) {                                                       \
        case HYBRID_TYPE_Q4_0: return &hybrid__kernel_##isa##_q4_0;       \
        case HYBRID_TYPE_Q4_1: return &hybrid__kernel_##isa##_q4_1;       \
        case HYBRID_TYPE_Q5_0: return &hybrid__kernel_##isa##_q5_0;       \
        case HYBRID_TYPE_Q5_1: return &hybrid__kernel_##isa##_q5_1;       \
        case HYBRID_TYPE_Q8_0: return &hybrid__kernel_##isa##_q8_0;       \
        case HYBRID_TYPE_Q2_K: return &hybrid__kernel_##isa##_q2_K;       \
        case HYBRID_TYPE_Q3_K: return &hybrid__kernel_##isa##_q3_K;       \
        case HYBRID_TYPE_Q4_K: return &hybrid__kernel_##isa##_q4_K;       \
        case HYBRID_TYPE_Q5_K: return &hybrid__kernel_##isa##_q5_K;       \
        case HYBRID_TYPE_Q6_K: return &hybrid__kernel_##isa##_q6_K;       \
        default: return NULL;                                             \
    }

/* Kernels of one set: as hybrid__isa, but what only some of these machines have apart: extra is AMX, and the dot products of NEON.
 * NULL: not an integer type. */
static const hybrid__matmul_kernel *hybrid__int_kernel_of(hybrid__isa isa, bool extra, hybrid_type type)
{
#if defined(HYBRID__AMX)
    if (isa == HYBRID__ISA_AVX512 && extra) HYBRID__INT_KERNELS(amx)
#endif
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) HYBRID__INT_KERNELS(avx512)
    if (isa == HYBRID__ISA_AVX2) HYBRID__INT_KERNELS(avx2)
#endif
#if defined(HYBRID__AVXVNNI)
    if (isa == HYBRID__ISA_AVXVNNI) HYBRID__INT_KERNELS(avxvnni)
#endif
#if defined(HYBRID__NEON_DOT)
    if (isa == HYBRID__ISA_NEON && extra) HYBRID__INT_KERNELS(neon_dot)
#endif
#if defined(HYBRID__ARM)
    if (isa == HYBRID__ISA_NEON) HYBRID__INT_KERNELS(neon)
#endif
    HYBRID__UNUSED(isa);
    HYBRID__UNUSED(extra);
    HYBRID__INT_KERNELS(generic)
}
#undef HYBRID__INT_KERNELS

static const hybrid__matmul_kernel *hybrid__int_kernel_for(hybrid__isa isa, hybrid_type type)
{
#if defined(HYBRID__AMX)
    static volatile int known;                          /* a CPU feature, idempotent. 0: not asked yet; 1: no; 2: yes */
    if (isa == HYBRID__ISA_AVX512 && !known) known = hybrid__amx_usable() ? 2 : 1;
    return hybrid__int_kernel_of(isa, known == 2, type);
#elif defined(HYBRID__NEON_DOT)
    return hybrid__int_kernel_of(isa, hybrid__neon_dot_usable(), type);
#else
    return hybrid__int_kernel_of(isa, false, type);
#endif
}
