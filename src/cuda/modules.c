/* cuda/modules: the programs that NVRTC compiles: which texts, with which -D, make which kernels. A module is compiled
 * when one of its kernels is first asked for, so modules are small: per quantized type one, from the same text. Those
 * of mixtures of experts are the texts of the other products with -DEXPERTS: experts_1 one by one, experts_8 and
 * experts_64 by tiles of so many rows, experts_gemm and experts_tensor for floats. Gradients are in the texts of their
 * ops, with -DBACK: a program that only runs a model never compiles them.
 *
 * A new module: a text (HYB_EMBED), an entry of the enumeration, a row of module_table.c, in the same order.
 * tests/nvrtc_check.py compiles all. */
#ifndef HYB_CUDA_MODULES_C
#define HYB_CUDA_MODULES_C
#include "../core/macros.h"
#include "../quant/types.inc"

#ifndef HYB_EMBED /* amalgamate.py puts the text of the file in its place */
    #define HYB_EMBED(name, path) static const char *const name[] = { path, NULL };
#endif
HYB_EMBED(hyb_cuda_text_prelude, "kernels/prelude.cu")
HYB_EMBED(hyb_cuda_text_quant, "kernels/quant.cu")
HYB_EMBED(hyb_cuda_text_quantize, "kernels/quantize.cu")
HYB_EMBED(hyb_cuda_text_matvec, "kernels/matvec.cu")
HYB_EMBED(hyb_cuda_text_matbatch, "kernels/matbatch.cu")
HYB_EMBED(hyb_cuda_text_dequantize, "kernels/dequantize.cu")
HYB_EMBED(hyb_cuda_text_gemm, "kernels/gemm.cu")
HYB_EMBED(hyb_cuda_text_gemm_f32, "kernels/gemm_f32.cu")
HYB_EMBED(hyb_cuda_text_experts, "kernels/experts.cu")
HYB_EMBED(hyb_cuda_text_embed, "kernels/embed.cu")
HYB_EMBED(hyb_cuda_text_rows, "kernels/rows.cu")
HYB_EMBED(hyb_cuda_text_rope, "kernels/rope.cu")
HYB_EMBED(hyb_cuda_text_kv, "kernels/kv.cu")
HYB_EMBED(hyb_cuda_text_select, "kernels/select.cu")
HYB_EMBED(hyb_cuda_text_recurrent, "kernels/recurrent.cu")
HYB_EMBED(hyb_cuda_text_attention_args, "kernels/attention_args.cu")
HYB_EMBED(hyb_cuda_text_attention, "kernels/attention.cu")
HYB_EMBED(hyb_cuda_text_attention_any, "kernels/attention_any.cu")
HYB_EMBED(hyb_cuda_text_train, "kernels/train.cu")
HYB_EMBED(hyb_cuda_text_lowrank, "kernels/lowrank.cu")
HYB_EMBED(hyb_cuda_text_rssm, "kernels/rssm.cu")

/* clang-format off */
/* Caches and head sizes with tensor-core kernels for attention; KV is that of kernels/attention_args.cu. The others:
 * attention_any. */
#define HYB_CUDA_HEADS(X) \
    X(F16, 0, 64) X(F16, 0, 80) X(F16, 0, 96) X(F16, 0, 112) X(F16, 0, 128) X(F16, 0, 192) X(F16, 0, 256) \
    X(Q8_0, 1, 64) X(Q8_0, 1, 96) X(Q8_0, 1, 128) X(Q8_0, 1, 192) X(Q8_0, 1, 256)

/* TYPE of the kernels is the number of a type. */
enum {
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_FAR_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_FEW_##type,
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_8_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_32_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_64_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_DEQUANTIZE_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
    HYB_MODULE_QUANTIZE, HYB_MODULE_GEMM_F16, HYB_MODULE_GEMM_BF16, HYB_MODULE_GEMM_F32,
    HYB_MODULE_EXPERTS, HYB_MODULE_EXPERTS_TENSOR_F16, HYB_MODULE_EXPERTS_TENSOR_BF16,
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_1_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_1_FAR_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_8_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_64_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_GEMM_##type,
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EMBED_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
    HYB_MODULE_ROWS, HYB_MODULE_ROPE, HYB_MODULE_KV, HYB_MODULE_SELECT, HYB_MODULE_RECURRENT,
#define HYB_MODULE_OF_HEAD(type, kv, dim) HYB_MODULE_ATTENTION_##type##_##dim,
    HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
    HYB_MODULE_ATTENTION_ANY,
    HYB_MODULE_TRAIN, HYB_MODULE_EMBED_BACK, HYB_MODULE_GEMM_BACK, HYB_MODULE_ATTENTION_BACK,
    HYB_MODULE_RECURRENT_BACK, HYB_MODULE_EXPERTS_BACK, HYB_MODULE_EXPERTS_GEMM_BACK,
    HYB_MODULE_LOWRANK, HYB_MODULE_RSSM,
    HYB_MODULE_COUNT
};
/* clang-format on */

enum { HYB_MODULE_KERNELS = 16 };
typedef struct hyb_cuda_module_info {
    const char *name;            /* shown in logs, part of the cache's key */
    const char *const *parts[4]; /* texts, joined in order; NULL after the last */
    const char *options[4];      /* NULL after the last */
    const char *kernels[HYB_MODULE_KERNELS + 1]; /* extern "C" names, NULL after the last; index: hyb_cuda_launch's
                                                  * `kernel` */
} hyb_cuda_module_info;

/* module_table.c, after the ops: which kernels a module has is said where they are launched. */
static const hyb_cuda_module_info *hyb_cuda_module(int module);

/* By hybrid_type; by the kernels' number of a cache's type and the size of a head. -1: no such module. */
static int hyb_cuda_embed_module(int type)
{
#define HYB_MODULE_OF_TYPE(name, number, values, bytes, suffix) \
    case number: return HYB_MODULE_EMBED_##name;
    switch (type) {
        HYB_TYPES(HYB_MODULE_OF_TYPE)
    }
#undef HYB_MODULE_OF_TYPE
    return -1;
}
static int hyb_cuda_attention_module(int kv, int dim)
{
#define HYB_MODULE_OF_HEAD(name, number, d) \
    if (kv == number && dim == d) return HYB_MODULE_ATTENTION_##name##_##d;
    HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
    return -1;
}
#endif
