/* compute/cpu/arm: row functions, attention and float matrices of NEON: the texts of cpu/x86.c, stamped once more. */
#ifndef HYB_COMPUTE_CPU_ARM_C
#define HYB_COMPUTE_CPU_ARM_C
#include "../../core/cpu.c"
#include "float.c"
#include "recurrent_back.c"
#include "train_generic.c"

#if defined(HYB_ARM)

    #include "vec_neon.inc"
    #include "math.inc"
    #include "rows.inc"
    #include "recurrent.inc"
    #include "train.inc"
    #include "attention.inc"
    #include "float.inc"
    #include "vec_end.inc"

#endif
#endif
