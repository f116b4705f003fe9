/* cuda/module_table: what each module is made of, in the order of the enumeration of modules.c. */
#ifndef HYB_CUDA_MODULE_TABLE_C
#define HYB_CUDA_MODULE_TABLE_C
#include "ops_recurrent.c"
#include "ops_experts.c"
#include "ops_lowrank.c"
#include "ops_rssm.c"

static const hyb_cuda_module_info *hyb_cuda_module(int module)
{
#define HYB_KERNEL_NAME(name_) #name_,
    /* clang-format off */
    static const hyb_cuda_module_info table[] = {
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, NULL }, { "matvec_1", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_far_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DFAR", NULL }, { "matvec_1", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_few_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DBATCH", NULL }, { "matvec_2", "matvec_4", "matvec_8", NULL } },
        HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_8_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_32_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=4", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_64_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "dequantize_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_dequantize, NULL }, \
          { "-DTYPE=" #number, NULL }, { "dequantize", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
        { "quantize", { hyb_cuda_text_prelude, hyb_cuda_text_quantize, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_QUANTIZE(HYB_KERNEL_NAME) NULL } },
        { "gemm_f16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_bf16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DBF16", NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_f32", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", NULL }, { "gemm_f32", NULL } },
        { "experts", { hyb_cuda_text_prelude, hyb_cuda_text_experts, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_EXPERTS(HYB_KERNEL_NAME) NULL } },
        { "experts_tensor_f16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DEXPERTS", NULL }, { "gemm_64", "gemm_32", NULL } },
        { "experts_tensor_bf16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DEXPERTS", "-DBF16", NULL }, { "gemm_64", "gemm_32", NULL } },
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_1_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "matvec_experts", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_1_far_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", "-DFAR", NULL }, { "matvec_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_8_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_64_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_gemm_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "gemm_f32", NULL } },
        HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "embed_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_embed, NULL }, \
          { "-DTYPE=" #number, NULL }, { "embed", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
        { "rows", { hyb_cuda_text_prelude, hyb_cuda_text_rows, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_ROWS(HYB_KERNEL_NAME) NULL } },
        { "rope", { hyb_cuda_text_prelude, hyb_cuda_text_rope, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_ROPE(HYB_KERNEL_NAME) NULL } },
        { "kv", { hyb_cuda_text_prelude, hyb_cuda_text_kv, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_KV(HYB_KERNEL_NAME) NULL } },
        { "select", { hyb_cuda_text_prelude, hyb_cuda_text_select, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_SELECT(HYB_KERNEL_NAME) NULL } },
        { "recurrent", { hyb_cuda_text_prelude, hyb_cuda_text_recurrent, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_RECURRENT(HYB_KERNEL_NAME) NULL } },
#define HYB_MODULE_OF_HEAD(type, kv, dim) \
        { "attention_" #type "_" #dim, \
          { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention, NULL }, \
          { "-DKV=" #kv, "-DHEAD_DIM=" #dim, NULL }, { "attention_few", "attention_many", NULL } },
        HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
        { "attention_any", { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention_any, NULL },
          { NULL },
          { "attention_any", NULL } },
        { "train", { hyb_cuda_text_prelude, hyb_cuda_text_rows, hyb_cuda_text_train, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_TRAIN(HYB_KERNEL_NAME) NULL } },
        { "embed_back", { hyb_cuda_text_prelude, hyb_cuda_text_embed, NULL, NULL },
          { "-DBACK", NULL }, { "embed_back", NULL } },
        { "gemm_back", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", "-DBACK", NULL }, { "gemm_back", NULL } },
        { "attention_back", { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention_any, NULL },
          { "-DBACK", NULL }, { "attention_back_q", "attention_back_kv", NULL } },
        { "recurrent_back", { hyb_cuda_text_prelude, hyb_cuda_text_recurrent, NULL, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_RECURRENT_BACK(HYB_KERNEL_NAME) NULL } },
        { "experts_back", { hyb_cuda_text_prelude, hyb_cuda_text_experts, NULL, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_EXPERTS_BACK(HYB_KERNEL_NAME) NULL } },
        { "experts_gemm_back", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", "-DBACK", "-DEXPERTS", NULL },
          { HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(HYB_KERNEL_NAME) NULL } },
        { "lowrank", { hyb_cuda_text_prelude, hyb_cuda_text_lowrank, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_LOWRANK(HYB_KERNEL_NAME) NULL } },
        { "rssm", { hyb_cuda_text_prelude, hyb_cuda_text_rssm, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_RSSM(HYB_KERNEL_NAME) NULL } }
    };
    /* clang-format on */
#undef HYB_KERNEL_NAME
    typedef char every_module_has_a_row[(int)(sizeof(table) / sizeof(table[0])) == HYB_MODULE_COUNT ? 1 : -1];
    return (void)sizeof(every_module_has_a_row), &table[module];
}
#endif
