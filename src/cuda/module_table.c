/* cuda/module_table: what each module is made of, in the order of the enumeration of modules.c. */

static const hybrid__cuda_module_info *hybrid__cuda_module(int module)
{
#define HYBRID__KERNEL_NAME(name_) #name_,
    static const hybrid__cuda_module_info table[] = {
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matvec_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, NULL }, { "matvec_1", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matvec_far_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DFAR", NULL }, { "matvec_1", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matvec_few_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DBATCH", NULL }, { "matvec_2", "matvec_4", "matvec_8", NULL } },
        HYBRID__CUDA_FLOATS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matbatch_8_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", NULL }, { "matbatch", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matbatch_32_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=4", NULL }, { "matbatch", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matbatch_64_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", NULL }, { "matbatch", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "dequantize_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_dequantize, NULL }, \
          { "-DTYPE=" #number, NULL }, { "dequantize", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
        { "quantize", { hybrid__cuda_text_prelude, hybrid__cuda_text_quantize, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_QUANTIZE(HYBRID__KERNEL_NAME) NULL } },
        { "gemm_f16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_bf16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { "-DBF16", NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_f32", { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_gemm_f32, NULL }, { "-DTYPE=0", NULL }, { "gemm_f32", NULL } },
        { "experts", { hybrid__cuda_text_prelude, hybrid__cuda_text_experts, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_EXPERTS(HYBRID__KERNEL_NAME) NULL } },
        { "experts_tensor_f16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { "-DEXPERTS", NULL }, { "gemm_64", "gemm_32", NULL } },
        { "experts_tensor_bf16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { "-DEXPERTS", "-DBF16", NULL }, { "gemm_64", "gemm_32", NULL } },
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "experts_1_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "matvec_experts", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "experts_1_far_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", "-DFAR", NULL }, { "matvec_experts", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "experts_8_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "experts_64_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "experts_gemm_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_gemm_f32, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "gemm_f32", NULL } },
        HYBRID__CUDA_FLOATS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "embed_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_embed, NULL }, \
          { "-DTYPE=" #number, NULL }, { "embed", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
        { "rows", { hybrid__cuda_text_prelude, hybrid__cuda_text_rows, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_ROWS(HYBRID__KERNEL_NAME) NULL } },
        { "rope", { hybrid__cuda_text_prelude, hybrid__cuda_text_rope, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_ROPE(HYBRID__KERNEL_NAME) NULL } },
        { "kv", { hybrid__cuda_text_prelude, hybrid__cuda_text_kv, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_KV(HYBRID__KERNEL_NAME) NULL } },
        { "select", { hybrid__cuda_text_prelude, hybrid__cuda_text_select, NULL, NULL }, { NULL }, { HYBRID__CUDA_KERNELS_SELECT(HYBRID__KERNEL_NAME) NULL } },
#define HYBRID__MODULE_OF_HEAD(type, kv, dim) \
        { "attention_" #type "_" #dim, { hybrid__cuda_text_prelude, hybrid__cuda_text_attention_args, hybrid__cuda_text_attention, NULL }, \
          { "-DKV=" #kv, "-DHEAD_DIM=" #dim, NULL }, { "attention_few", "attention_many", NULL } },
        HYBRID__CUDA_HEADS(HYBRID__MODULE_OF_HEAD)
#undef HYBRID__MODULE_OF_HEAD
        { "attention_any", { hybrid__cuda_text_prelude, hybrid__cuda_text_attention_args, hybrid__cuda_text_attention_any, NULL }, { NULL },
          { "attention_any", NULL } }
    };
#undef HYBRID__KERNEL_NAME
    typedef char every_module_has_a_row[(int)(sizeof(table) / sizeof(table[0])) == HYBRID__MODULE_COUNT ? 1 : -1];
    return (void)sizeof(every_module_has_a_row), &table[module];
}
