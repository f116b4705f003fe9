/* model/arch: the table of architectures.
 *
 * A family is a row: which parts its layers are made of, and switches. What a file shows by having a tensor or not
 * (biases, fused matrices, a tied head, experts in this layer or not) is not in the table: the parts look for it. Norms
 * of q and k and norms after a block are, because a whole family has them or not. */
#ifndef HYB_MODEL_ARCH_C
#define HYB_MODEL_ARCH_C
#include "../compute/op.c"

/* The parts of a layer: one that mixes the tokens of a sequence, and one that works on each token alone. Each is a file
 * of model/parts. */
typedef enum hyb_part_kind {
    HYB_PART_ATTENTION,
    HYB_PART_SHORTCONV, /* LFM2 */
    HYB_PART_TIME_MIX,  /* RWKV-7 */
    HYB_PART_FFN,
    HYB_PART_EXPERTS,
    HYB_PART_CHANNEL_MIX, /* RWKV-7; looks at the token before, too */
    HYB_PART_COUNT
} hyb_part_kind;

typedef enum hyb_window_kind {
    HYB_WINDOW_NONE,
    HYB_WINDOW_ALL,    /* every layer, when the file gives a window */
    HYB_WINDOW_PATTERN /* every layer but each `period`-th, or as the file says */
} hyb_window_kind;

/* Mixtures of experts: how the chosen ones are weighted. */
typedef enum hyb_mixture {
    HYB_MIXTURE_NONE,   /* the family has no experts */
    HYB_MIXTURE_SHARES, /* their shares of a softmax; and one expert that sees every token */
    HYB_MIXTURE_NORMED  /* made to sum to 1 */
} hyb_mixture;

/* What a family has. Of tensors: in every layer, and a file of another family that holds them is refused. */
enum {
    HYB_HAS_QK_NORM = 1,
    HYB_HAS_POST_NORM = 2,
    HYB_HAS_PLAIN_FFN = 4,    /* no gate */
    HYB_HAS_POS_EMBD = 8,     /* a table of positions instead of rope */
    HYB_HAS_SCALED_EMBD = 16, /* embeddings times sqrt(n_embd) */
    HYB_HAS_EMBD_NORM = 32,   /* a norm right after the embedding */
    HYB_HAS_LFM2_NAME = 64,   /* the last norm is called token_embd_norm */
    HYB_HAS_SHORTCONV = 128,  /* in layers without heads of keys */
    HYB_HAS_BOTH_WAYS = 256,  /* an encoder: attention to later tokens, too; neither a last norm nor a head */
    HYB_HAS_SUM_NORM = 512    /* a norm of x and what a block adds to it, and none before the block */
};

typedef struct hyb_arch {
    const char *name; /* general.architecture */
    hyb_norm_kind norm;
    hyb_rope_kind rope;
    hyb_act_kind act;
    hyb_part_kind mixer, ffn;
    unsigned has; /* HYB_HAS_... */
    hyb_window_kind window;
    int window_period;
    int32_t window_default;            /* of files without the key */
    float local_rope_base;             /* base of windowed layers; 0: the same as elsewhere */
    float attn_softcap, logit_softcap; /* of files without the keys; 0: none */
    hyb_mixture mixture;
} hyb_arch;

/* clang-format off */
#define HYB_RMS   HYB_NORM_RMS
#define HYB_LN    HYB_NORM_LAYER
#define HYB_NORM  HYB_ROPE_NORM
#define HYB_NEOX  HYB_ROPE_NEOX
#define HYB_GELU  HYB_ACT_GELU_TANH
#define HYB_SILU  HYB_ACT_SILU
#define HYB_GPT   HYB_PART_ATTENTION, HYB_PART_FFN
#define HYB_RWKV7 HYB_PART_TIME_MIX
#define HYB_QK    HYB_HAS_QK_NORM
#define HYB_POST  HYB_HAS_POST_NORM
#define HYB_BERT  (HYB_HAS_BOTH_WAYS | HYB_HAS_SUM_NORM | HYB_HAS_EMBD_NORM)
static const hyb_arch hyb_archs[] = {
    /* name,     norm,    rope,     act,      parts,      has,
                 window, period, default, local base, caps, mixture */
    { "llama",    HYB_RMS, HYB_NORM, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NORMED },
    { "mistral",  HYB_RMS, HYB_NORM, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen2",    HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen2moe", HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_SHARES },
    { "qwen3",    HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, HYB_QK,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen3moe", HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, HYB_QK,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NORMED },
    { "phi3",     HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "gemma2",   HYB_RMS, HYB_NEOX, HYB_GELU, HYB_GPT, HYB_POST | HYB_HAS_SCALED_EMBD,
                  HYB_WINDOW_PATTERN, 2, 4096, 0, 50, 30, HYB_MIXTURE_NONE },
    { "gemma3",   HYB_RMS, HYB_NEOX, HYB_GELU, HYB_GPT, HYB_QK | HYB_POST | HYB_HAS_SCALED_EMBD,
                  HYB_WINDOW_PATTERN, 6, 0, 10000, 0, 0, HYB_MIXTURE_NONE },
    { "gpt2",     HYB_LN,  HYB_NORM, HYB_GELU, HYB_GPT, HYB_HAS_PLAIN_FFN | HYB_HAS_POS_EMBD,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "openelm",  HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, HYB_QK,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "lfm2",     HYB_RMS, HYB_NEOX, HYB_SILU, HYB_GPT, HYB_QK | HYB_HAS_LFM2_NAME | HYB_HAS_SHORTCONV,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "rwkv7",    HYB_LN,  HYB_NORM, HYB_SILU, HYB_RWKV7, HYB_PART_CHANNEL_MIX, HYB_HAS_EMBD_NORM,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "arwkv7",   HYB_RMS, HYB_NORM, HYB_SILU, HYB_RWKV7, HYB_PART_FFN, 0,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "bert",     HYB_LN,  HYB_NEOX, HYB_ACT_GELU, HYB_GPT, HYB_BERT | HYB_HAS_PLAIN_FFN | HYB_HAS_POS_EMBD,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "nomic-bert", HYB_LN, HYB_NEOX, HYB_SILU, HYB_GPT, HYB_BERT,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
};
#undef HYB_RMS
#undef HYB_LN
#undef HYB_NORM
#undef HYB_NEOX
#undef HYB_GELU
#undef HYB_SILU
#undef HYB_GPT
#undef HYB_RWKV7
#undef HYB_QK
#undef HYB_POST
#undef HYB_BERT
/* clang-format on */

/* "llama, mistral, ...": those with a mixture of experts, or all. */
static void hyb_arch_names(bool mixtures, char *text, size_t size)
{
    size_t i, at = 0;
    text[0] = 0;
    for (i = 0; i < HYB_COUNT(hyb_archs) && at < size; i++) {
        if (mixtures && hyb_archs[i].mixture == HYB_MIXTURE_NONE) continue;
        at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "", hyb_archs[i].name);
    }
}
#endif
