/* compute/cpu/x86: row functions, attention and float matrices of AVX2 and AVX-512: the same texts, stamped twice. */
#ifndef HYB_COMPUTE_CPU_X86_C
#define HYB_COMPUTE_CPU_X86_C
#include "int/avx512.c"
#include "float.c"
#include "recurrent_back.c"
#include "train_generic.c"

#if defined(HYB_X86)

    #include "vec_avx2.inc"
    #include "math.inc"
    #include "rows.inc"
    #include "recurrent.inc"
    #include "train.inc"
    #include "attention.inc"
    #include "float.inc"
    #include "vec_end.inc"

#endif
#if defined(HYB_AVX512)

    #include "vec_avx512.inc"
    #include "math.inc"
    #include "rows.inc"
    #include "recurrent.inc"
    #include "train.inc"
    #include "attention.inc"
    #include "float.inc"
    #include "vec_end.inc"

#endif
#endif
