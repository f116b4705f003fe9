/* cuda/modules: the programs that NVRTC compiles: which texts, with which -D, make which kernels. A module is compiled when one of its kernels
 * is first asked for, so modules are small: per quantized type one, from the same text.
 *
 * A new module: a text (HYBRID__EMBED), an entry of the enumeration, a row of the table, in the same order. tests/nvrtc_check.py compiles all. */

HYBRID__EMBED(hybrid__cuda_text_prelude, "kernels/prelude.cu")
HYBRID__EMBED(hybrid__cuda_text_quant, "kernels/quant.cu")
HYBRID__EMBED(hybrid__cuda_text_quantize, "kernels/quantize.cu")
HYBRID__EMBED(hybrid__cuda_text_matvec, "kernels/matvec.cu")
HYBRID__EMBED(hybrid__cuda_text_dequantize, "kernels/dequantize.cu")
HYBRID__EMBED(hybrid__cuda_text_gemm, "kernels/gemm.cu")
HYBRID__EMBED(hybrid__cuda_text_gemm_f32, "kernels/gemm_f32.cu")

/* The 13 types of weights; the number is hybrid_type's, TYPE of the kernels. */
#define HYBRID__CUDA_TYPES(X) \
    X(F32, 0) X(F16, 1) X(Q4_0, 2) X(Q4_1, 3) X(Q5_0, 6) X(Q5_1, 7) X(Q8_0, 8) \
    X(Q2_K, 10) X(Q3_K, 11) X(Q4_K, 12) X(Q5_K, 13) X(Q6_K, 14) X(BF16, 30)

enum {
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATVEC_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATBATCH_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_DEQUANTIZE_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
    HYBRID__MODULE_QUANTIZE, HYBRID__MODULE_GEMM_F16, HYBRID__MODULE_GEMM_BF16, HYBRID__MODULE_GEMM_F32,
    HYBRID__MODULE_COUNT
};

typedef struct hybrid__cuda_module_info {
    const char *name;                       /* shown in logs, part of the cache's key */
    const char *const *parts[4];            /* texts, joined in order; NULL behind the last */
    const char *options[4];                 /* NULL behind the last */
    const char *kernels[12];                /* extern "C" names, NULL behind the last; the index is hybrid__cuda_launch's `kernel` */
} hybrid__cuda_module_info;

static const hybrid__cuda_module_info *hybrid__cuda_module(int module)
{
    static const hybrid__cuda_module_info table[] = {
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matvec_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, NULL }, { "matvec_1", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matbatch_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DBATCH", NULL }, { "matvec_2", "matvec_4", "matvec_8", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "dequantize_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_dequantize, NULL }, \
          { "-DTYPE=" #number, NULL }, { "dequantize", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
        { "quantize", { hybrid__cuda_text_prelude, hybrid__cuda_text_quantize, NULL, NULL }, { NULL }, { "quantize", "to_half", "to_bf16", "begin_bias", NULL } },
        { "gemm_f16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_bf16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { "-DBF16", NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_f32", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm_f32, NULL, NULL }, { NULL }, { "gemm_f32", NULL } }
    };
    typedef char every_module_has_a_row[(int)(sizeof(table) / sizeof(table[0])) == HYBRID__MODULE_COUNT ? 1 : -1];
    return (void)sizeof(every_module_has_a_row), &table[module];
}
