/* compute/cpu_arm: row functions, attention and float matrices of NEON: the texts of cpu_x86.c, stamped once more. */
#if defined(HYB_ARM)

    #include "cpu_vec_neon.inc"
    #include "math.inc"
    #include "cpu_rows.inc"
    #include "cpu_recurrent.inc"
    #include "cpu_attention.inc"
    #include "cpu_float.inc"
    #include "cpu_vec_end.inc"

#endif
