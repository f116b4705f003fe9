/* compute/cpu/select: the kernels of an instruction set. isa is at most what the machine has. */
#ifndef HYB_COMPUTE_CPU_SELECT_C
#define HYB_COMPUTE_CPU_SELECT_C
#include "recurrent_back.c"
#include "train_generic.c"
#include "x86.c"
#include "arm.c"

static const hyb_cpu_kernels hyb_cpu_kernels_generic = {
#define HYB_KERNEL(name_, parameters_) hyb_##name_##_generic,
    HYB_CPU_KERNELS(HYB_KERNEL)
    HYB_CPU_TRAIN_KERNELS(HYB_KERNEL)
#undef HYB_KERNEL
};

static const hyb_cpu_kernels *hyb_cpu_kernels_for(hyb_isa isa)
{
#if defined(HYB_AVX512)
    if (isa == HYB_ISA_AVX512) return &hyb_cpu_kernels_avx512;
#endif
#if defined(HYB_X86)
    if (isa == HYB_ISA_AVX2 || isa == HYB_ISA_AVXVNNI) return &hyb_cpu_kernels_avx2;
#endif
#if defined(HYB_ARM)
    if (isa == HYB_ISA_NEON) return &hyb_cpu_kernels_neon;
#endif
    HYB_UNUSED(isa);
    return &hyb_cpu_kernels_generic;
}

/* NULL when type is not one of F32, F16, BF16. */
static const hyb_matmul_kernel *hyb_matmul_float_kernel(hyb_isa isa, hybrid_type type)
{
#define HYB_FLOAT_KERNELS(isa_) \
    if (type == HYBRID_TYPE_F32) return &hyb_matmul_f32_##isa_; \
    if (type == HYBRID_TYPE_F16) return &hyb_matmul_f16_##isa_; \
    return type == HYBRID_TYPE_BF16 ? &hyb_matmul_bf16_##isa_ : NULL
#if defined(HYB_AVX512)
    if (isa == HYB_ISA_AVX512) {
        HYB_FLOAT_KERNELS(avx512);
    }
#endif
#if defined(HYB_X86)
    if (isa == HYB_ISA_AVX2 || isa == HYB_ISA_AVXVNNI) {
        HYB_FLOAT_KERNELS(avx2);
    }
#endif
#if defined(HYB_ARM)
    if (isa == HYB_ISA_NEON) {
        HYB_FLOAT_KERNELS(neon);
    }
#endif
    HYB_UNUSED(isa);
    HYB_FLOAT_KERNELS(generic);
#undef HYB_FLOAT_KERNELS
}
#endif
