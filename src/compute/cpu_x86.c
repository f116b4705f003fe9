/* compute/cpu_x86: the row functions and attention of AVX2 and AVX-512: the same texts, stamped twice. */
#if defined(HYBRID__X86)

#include "cpu_vec_avx2.inc"
#include "math.inc"
#include "cpu_rows.inc"
#include "cpu_attention.inc"
#include "cpu_vec_end.inc"

#include "cpu_vec_avx512.inc"
#include "math.inc"
#include "cpu_rows.inc"
#include "cpu_attention.inc"
#include "cpu_vec_end.inc"

#define HYBRID__CPU_KERNELS(isa) { hybrid__norm_##isa, hybrid__rope_##isa, hybrid__glu_##isa, hybrid__add_##isa, hybrid__add_scaled_##isa, \
    hybrid__scale_##isa, hybrid__softcap_##isa, hybrid__kv_row_##isa, hybrid__attention_##isa }
static const hybrid__cpu_kernels *hybrid__cpu_kernels_x86(hybrid__isa isa)
{
    static const hybrid__cpu_kernels avx2 = HYBRID__CPU_KERNELS(avx2), avx512 = HYBRID__CPU_KERNELS(avx512);
    return isa == HYBRID__ISA_AVX512 ? &avx512 : isa == HYBRID__ISA_AVX2 ? &avx2 : NULL;
}
#undef HYBRID__CPU_KERNELS
#endif
