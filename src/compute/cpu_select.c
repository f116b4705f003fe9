/* compute/cpu_select: the kernels of an instruction set. isa is at most what the machine has. */

static const hybrid__cpu_kernels *hybrid__cpu_kernels_for(hybrid__isa isa)
{
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) return &hybrid__cpu_kernels_avx512;
    if (isa == HYBRID__ISA_AVX2 || isa == HYBRID__ISA_AVXVNNI) return &hybrid__cpu_kernels_avx2;
#endif
#if defined(HYBRID__ARM)
    if (isa == HYBRID__ISA_NEON) return &hybrid__cpu_kernels_neon;
#endif
    HYBRID__UNUSED(isa);
    return &hybrid__cpu_kernels_generic;
}

/* NULL when type is not one of F32, F16, BF16. */
static const hybrid__matmul_kernel *hybrid__matmul_float_kernel(hybrid__isa isa, hybrid_type type)
{
#define HYBRID__FLOAT_KERNELS(isa_)                                            \
    if (type == HYBRID_TYPE_F32) return &hybrid__matmul_f32_##isa_;            \
    if (type == HYBRID_TYPE_F16) return &hybrid__matmul_f16_##isa_;            \
    return type == HYBRID_TYPE_BF16 ? &hybrid__matmul_bf16_##isa_ : NULL
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) { HYBRID__FLOAT_KERNELS(avx512); }
    if (isa == HYBRID__ISA_AVX2 || isa == HYBRID__ISA_AVXVNNI) { HYBRID__FLOAT_KERNELS(avx2); }
#endif
#if defined(HYBRID__ARM)
    if (isa == HYBRID__ISA_NEON) { HYBRID__FLOAT_KERNELS(neon); }
#endif
    HYBRID__UNUSED(isa);
    HYBRID__FLOAT_KERNELS(generic);
#undef HYBRID__FLOAT_KERNELS
}
