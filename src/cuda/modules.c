/* cuda/modules: the programs that NVRTC compiles: which texts, with which -D, make which kernels. A module is compiled when one of its kernels
 * is first asked for, so modules are small: per quantized type one, from the same text. Those of mixtures of experts are the texts of the other products with
 * -DEXPERTS: experts_1 one by one, experts_8 and experts_64 by tiles of so many rows, experts_gemm and experts_tensor for floats.
 *
 * A new module: a text (HYBRID__EMBED), an entry of the enumeration, a row of module_table.c, in the same order. tests/nvrtc_check.py compiles all. */

HYBRID__EMBED(hybrid__cuda_text_prelude, "kernels/prelude.cu")
HYBRID__EMBED(hybrid__cuda_text_quant, "kernels/quant.cu")
HYBRID__EMBED(hybrid__cuda_text_quantize, "kernels/quantize.cu")
HYBRID__EMBED(hybrid__cuda_text_matvec, "kernels/matvec.cu")
HYBRID__EMBED(hybrid__cuda_text_matbatch, "kernels/matbatch.cu")
HYBRID__EMBED(hybrid__cuda_text_dequantize, "kernels/dequantize.cu")
HYBRID__EMBED(hybrid__cuda_text_gemm, "kernels/gemm.cu")
HYBRID__EMBED(hybrid__cuda_text_gemm_f32, "kernels/gemm_f32.cu")
HYBRID__EMBED(hybrid__cuda_text_experts, "kernels/experts.cu")
HYBRID__EMBED(hybrid__cuda_text_embed, "kernels/embed.cu")
HYBRID__EMBED(hybrid__cuda_text_rows, "kernels/rows.cu")
HYBRID__EMBED(hybrid__cuda_text_rope, "kernels/rope.cu")
HYBRID__EMBED(hybrid__cuda_text_kv, "kernels/kv.cu")
HYBRID__EMBED(hybrid__cuda_text_select, "kernels/select.cu")
HYBRID__EMBED(hybrid__cuda_text_attention_args, "kernels/attention_args.cu")
HYBRID__EMBED(hybrid__cuda_text_attention, "kernels/attention.cu")
HYBRID__EMBED(hybrid__cuda_text_attention_any, "kernels/attention_any.cu")

/* The 13 types of weights; the number is hybrid_type's, TYPE of the kernels. */
#define HYBRID__CUDA_FLOATS(X) X(F32, 0) X(F16, 1) X(BF16, 30)
#define HYBRID__CUDA_QUANTS(X) X(Q4_0, 2) X(Q4_1, 3) X(Q5_0, 6) X(Q5_1, 7) X(Q8_0, 8) X(Q2_K, 10) X(Q3_K, 11) X(Q4_K, 12) X(Q5_K, 13) X(Q6_K, 14)
#define HYBRID__CUDA_TYPES(X) HYBRID__CUDA_FLOATS(X) HYBRID__CUDA_QUANTS(X)

/* Caches and head sizes with tensor-core kernels for attention; KV is that of kernels/attention_args.cu. The others: attention_any. */
#define HYBRID__CUDA_HEADS(X) \
    X(F16, 0, 64) X(F16, 0, 80) X(F16, 0, 96) X(F16, 0, 112) X(F16, 0, 128) X(F16, 0, 192) X(F16, 0, 256) \
    X(Q8_0, 1, 64) X(Q8_0, 1, 96) X(Q8_0, 1, 128) X(Q8_0, 1, 192) X(Q8_0, 1, 256)

enum {
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATVEC_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATVEC_FAR_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATVEC_FEW_##type,
    HYBRID__CUDA_FLOATS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATBATCH_8_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATBATCH_32_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATBATCH_64_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_DEQUANTIZE_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
    HYBRID__MODULE_QUANTIZE, HYBRID__MODULE_GEMM_F16, HYBRID__MODULE_GEMM_BF16, HYBRID__MODULE_GEMM_F32,
    HYBRID__MODULE_EXPERTS, HYBRID__MODULE_EXPERTS_TENSOR_F16, HYBRID__MODULE_EXPERTS_TENSOR_BF16,
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EXPERTS_1_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EXPERTS_1_FAR_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EXPERTS_8_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EXPERTS_64_##type,
    HYBRID__CUDA_QUANTS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EXPERTS_GEMM_##type,
    HYBRID__CUDA_FLOATS(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_EMBED_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
    HYBRID__MODULE_ROWS, HYBRID__MODULE_ROPE, HYBRID__MODULE_KV, HYBRID__MODULE_SELECT,
#define HYBRID__MODULE_OF_HEAD(type, kv, dim) HYBRID__MODULE_ATTENTION_##type##_##dim,
    HYBRID__CUDA_HEADS(HYBRID__MODULE_OF_HEAD)
#undef HYBRID__MODULE_OF_HEAD
    HYBRID__MODULE_ATTENTION_ANY,
    HYBRID__MODULE_COUNT
};

typedef struct hybrid__cuda_module_info {
    const char *name;                       /* shown in logs, part of the cache's key */
    const char *const *parts[4];            /* texts, joined in order; NULL behind the last */
    const char *options[4];                 /* NULL behind the last */
    const char *kernels[12];                /* extern "C" names, NULL behind the last; the index is hybrid__cuda_launch's `kernel` */
} hybrid__cuda_module_info;

/* module_table.c, behind the ops: which kernels a module has is said where they are launched. */
static const hybrid__cuda_module_info *hybrid__cuda_module(int module);

/* By hybrid_type; by the kernels' number of a cache's type and the size of a head. -1: no such module. */
static int hybrid__cuda_embed_module(int type)
{
#define HYBRID__MODULE_OF_TYPE(name, number) case number: return HYBRID__MODULE_EMBED_##name;
    switch (type) { HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE) }
#undef HYBRID__MODULE_OF_TYPE
    return -1;
}
static int hybrid__cuda_attention_module(int kv, int dim)
{
#define HYBRID__MODULE_OF_HEAD(name, number, d) if (kv == number && dim == d) return HYBRID__MODULE_ATTENTION_##name##_##d;
    HYBRID__CUDA_HEADS(HYBRID__MODULE_OF_HEAD)
#undef HYBRID__MODULE_OF_HEAD
    return -1;
}
