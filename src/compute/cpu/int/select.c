/* compute/cpu/int/select: the table of integer-block kernels. */
#ifndef HYB_COMPUTE_CPU_INT_SELECT_C
#define HYB_COMPUTE_CPU_INT_SELECT_C
#include "generic.c"
#include "amx.c"
#include "avx2_gemm.c"
#include "neon.c"

#define HYB_INT_KERNELS(isa) \
    switch (type) { \
    case HYBRID_TYPE_Q4_0: return &hyb_kernel_##isa##_q4_0; \
    case HYBRID_TYPE_Q4_1: return &hyb_kernel_##isa##_q4_1; \
    case HYBRID_TYPE_Q5_0: return &hyb_kernel_##isa##_q5_0; \
    case HYBRID_TYPE_Q5_1: return &hyb_kernel_##isa##_q5_1; \
    case HYBRID_TYPE_Q8_0: return &hyb_kernel_##isa##_q8_0; \
    case HYBRID_TYPE_Q2_K: return &hyb_kernel_##isa##_q2_K; \
    case HYBRID_TYPE_Q3_K: return &hyb_kernel_##isa##_q3_K; \
    case HYBRID_TYPE_Q4_K: return &hyb_kernel_##isa##_q4_K; \
    case HYBRID_TYPE_Q5_K: return &hyb_kernel_##isa##_q5_K; \
    case HYBRID_TYPE_Q6_K: return &hyb_kernel_##isa##_q6_K; \
    default: return NULL; \
    }

/* Kernels of one set: as hyb_isa, but what only some of these machines have apart: extra is AMX, and the dot products
 * of NEON. NULL: not an integer type. */
static const hyb_matmul_kernel *hyb_int_kernel_of(hyb_isa isa, bool extra, hybrid_type type)
{
#if defined(HYB_AMX)
    if (isa == HYB_ISA_AVX512 && extra) HYB_INT_KERNELS(amx)
#endif
#if defined(HYB_AVX512)
    if (isa == HYB_ISA_AVX512) HYB_INT_KERNELS(avx512)
#endif
#if defined(HYB_X86)
    if (isa == HYB_ISA_AVX2) HYB_INT_KERNELS(avx2)
#endif
#if defined(HYB_AVXVNNI)
    if (isa == HYB_ISA_AVXVNNI) HYB_INT_KERNELS(avxvnni)
#endif
#if defined(HYB_NEON_DOT)
    if (isa == HYB_ISA_NEON && extra) HYB_INT_KERNELS(neon_dot)
#endif
#if defined(HYB_ARM)
    if (isa == HYB_ISA_NEON) HYB_INT_KERNELS(neon)
#endif
    HYB_UNUSED(isa);
    HYB_UNUSED(extra);
    HYB_INT_KERNELS(generic)
}
#undef HYB_INT_KERNELS

static const hyb_matmul_kernel *hyb_int_kernel_for(hyb_isa isa, hybrid_type type)
{
#if defined(HYB_AMX)
    static volatile int known; /* a CPU feature, idempotent. 0: not asked yet; 1: no; 2: yes */
    if (isa == HYB_ISA_AVX512 && !known) known = hyb_amx_usable() ? 2 : 1;
    return hyb_int_kernel_of(isa, known == 2, type);
#elif defined(HYB_NEON_DOT)
    return hyb_int_kernel_of(isa, hyb_neon_dot_usable(), type);
#else
    return hyb_int_kernel_of(isa, false, type);
#endif
}
#endif
