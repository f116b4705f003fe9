/* compute/cpu_x86: row functions, attention and float matrices of AVX2 and AVX-512: the same texts, stamped twice. */
#if defined(HYB_X86)

    #include "cpu_vec_avx2.inc"
    #include "math.inc"
    #include "cpu_rows.inc"
    #include "cpu_recurrent.inc"
    #include "cpu_attention.inc"
    #include "cpu_float.inc"
    #include "cpu_vec_end.inc"

    #include "cpu_vec_avx512.inc"
    #include "math.inc"
    #include "cpu_rows.inc"
    #include "cpu_recurrent.inc"
    #include "cpu_attention.inc"
    #include "cpu_float.inc"
    #include "cpu_vec_end.inc"

#endif
