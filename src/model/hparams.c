/* model/hparams: the table of architectures, and the numbers of one model, read from its GGUF keys.
 *
 * A family is a row of switches. What a file shows by having a tensor or not (biases, fused matrices, a tied head,
 * experts in this layer or not) is not in the table: model/weights looks. Norms of q and k and norms behind a block
 * stand here, because a family has them or not. */

typedef enum hybrid__window_kind {
    HYBRID__WINDOW_NONE,
    HYBRID__WINDOW_ALL,                 /* every layer, when the file gives a window */
    HYBRID__WINDOW_PATTERN              /* every layer but each `period`-th */
} hybrid__window_kind;

/* Mixtures of experts: what the weights of the chosen ones are. */
typedef enum hybrid__mixture {
    HYBRID__MIXTURE_NONE,               /* the family has no experts */
    HYBRID__MIXTURE_SHARES,             /* their shares of a softmax; and one expert that sees every token */
    HYBRID__MIXTURE_NORMED              /* made to sum to 1 */
} hybrid__mixture;

/* Tensors that a family has in every layer; a file of another family that holds them is refused. */
enum { HYBRID__PART_QK_NORM = 1, HYBRID__PART_POST_NORM = 2, HYBRID__PART_PLAIN_FFN = 4 /* no gate */ };

typedef struct hybrid__arch {
    const char         *name;           /* general.architecture */
    hybrid__norm_kind   norm;
    hybrid__rope_kind   rope;
    hybrid__act_kind    act;
    unsigned            parts;          /* HYBRID__PART_... */
    bool                learned_pos;    /* a table of positions instead of rope */
    bool                scale_embd;     /* embeddings times sqrt(n_embd) */
    hybrid__window_kind window;
    int                 window_period;
    int32_t             window_default; /* of files without the key */
    float               local_rope_base;/* base of windowed layers; 0: the same as elsewhere */
    float               attn_softcap, logit_softcap;    /* of files without the keys; 0: none */
    hybrid__mixture     mixture;
} hybrid__arch;

#define HYBRID__RMS  HYBRID__NORM_RMS
#define HYBRID__NEOX HYBRID__ROPE_NEOX
#define HYBRID__GELU HYBRID__ACT_GELU_TANH
#define HYBRID__SILU HYBRID__ACT_SILU
#define HYBRID__QK   HYBRID__PART_QK_NORM
#define HYBRID__POST HYBRID__PART_POST_NORM
static const hybrid__arch hybrid__archs[] = {
    /* name,     norm, rope, act, parts, pos, scale, window, period, default, base, caps, mixture */
    { "llama",    HYBRID__RMS, HYBRID__ROPE_NORM, HYBRID__SILU, 0, false, false,
                  HYBRID__WINDOW_ALL, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NORMED },
    { "mistral",  HYBRID__RMS, HYBRID__ROPE_NORM, HYBRID__SILU, 0, false, false,
                  HYBRID__WINDOW_ALL, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NONE },
    { "qwen2",    HYBRID__RMS, HYBRID__NEOX, HYBRID__SILU, 0, false, false,
                  HYBRID__WINDOW_NONE, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NONE },
    { "qwen2moe", HYBRID__RMS, HYBRID__NEOX, HYBRID__SILU, 0, false, false,
                  HYBRID__WINDOW_NONE, 0, 0, 0, 0, 0, HYBRID__MIXTURE_SHARES },
    { "qwen3",    HYBRID__RMS, HYBRID__NEOX, HYBRID__SILU, HYBRID__QK, false, false,
                  HYBRID__WINDOW_NONE, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NONE },
    { "qwen3moe", HYBRID__RMS, HYBRID__NEOX, HYBRID__SILU, HYBRID__QK, false, false,
                  HYBRID__WINDOW_NONE, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NORMED },
    { "phi3",     HYBRID__RMS, HYBRID__NEOX, HYBRID__SILU, 0, false, false,
                  HYBRID__WINDOW_ALL, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NONE },
    { "gemma2",   HYBRID__RMS, HYBRID__NEOX, HYBRID__GELU, HYBRID__POST, false, true,
                  HYBRID__WINDOW_PATTERN, 2, 4096, 0, 50, 30, HYBRID__MIXTURE_NONE },
    { "gemma3",   HYBRID__RMS, HYBRID__NEOX, HYBRID__GELU, HYBRID__QK | HYBRID__POST, false, true,
                  HYBRID__WINDOW_PATTERN, 6, 0, 10000, 0, 0, HYBRID__MIXTURE_NONE },
    { "gpt2",     HYBRID__NORM_LAYER, HYBRID__ROPE_NORM, HYBRID__GELU, HYBRID__PART_PLAIN_FFN, true, false,
                  HYBRID__WINDOW_NONE, 0, 0, 0, 0, 0, HYBRID__MIXTURE_NONE },
};
#undef HYBRID__RMS
#undef HYBRID__NEOX
#undef HYBRID__GELU
#undef HYBRID__SILU
#undef HYBRID__QK
#undef HYBRID__POST

/* How positions are stretched beyond the context of training: see model/rope. */
typedef enum hybrid__rope_scaling { HYBRID__SCALING_NONE, HYBRID__SCALING_LINEAR, HYBRID__SCALING_YARN, HYBRID__SCALING_LONGROPE } hybrid__rope_scaling;

typedef struct hybrid__hparams {
    const hybrid__arch *arch;
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim_k, head_dim_v, n_ff;
    float   norm_eps;
    int32_t n_rot;
    float   rope_base, rope_base_local;
    bool    rope_local;                 /* windowed layers have angles of their own */
    hybrid__rope_scaling rope_scaling;
    float   rope_factor;                /* linear, yarn: positions stretched by it */
    float   rope_attn_factor;           /* longrope, yarn: cos and sin times it */
    float   yarn_beta_fast, yarn_beta_slow;
    int32_t n_ctx_orig;                 /* context before stretching */
    int32_t window, window_period;      /* window 0: none */
    float   attn_scale, attn_softcap, logit_softcap, embd_scale;
    int32_t n_expert, n_expert_used;    /* 0: no experts */
    int32_t n_ff_expert, n_ff_shared;   /* width of each, and of the one that sees every token; 0: there is none such */
    bool    expert_norm;                /* weights of the chosen ones sum to 1 */
    float   expert_scale;               /* and are multiplied by it */
} hybrid__hparams;

static bool hybrid__layer_is_local(const hybrid__hparams *hp, int layer)
{
    if (!hp->window || hp->arch->window == HYBRID__WINDOW_NONE) return false;
    return hp->arch->window == HYBRID__WINDOW_ALL || (layer + 1) % hp->window_period != 0;
}

/* What a type of scaling is called in files. */
static hybrid__rope_scaling hybrid__rope_scaling_of(hybrid__keys *keys, const hybrid__hparams *hp)
{
    static const char *const names[] = { "none", "linear", "yarn", "longrope" };
    hybrid_string name;
    char text[64];
    int i;
    if (!hybrid__key_string(keys, "rope.scaling.type", &name)) {
        if (hybrid_gguf_find_tensor(keys->gguf, "rope_factors_long.weight")) return HYBRID__SCALING_LONGROPE;
        return hp->rope_factor != 1 ? HYBRID__SCALING_LINEAR : HYBRID__SCALING_NONE;
    }
    for (i = 0; i < 4; i++) if (hybrid__string_is(name, names[i])) return (hybrid__rope_scaling)i;
    if (!keys->result)
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                    "rope scaling '%s' (key '%s.rope.scaling.type') is not supported",
                                    hybrid__printable(name, text), keys->arch);
    return HYBRID__SCALING_NONE;
}

static void hybrid__read_rope_scaling(hybrid__keys *keys, hybrid__hparams *hp)
{
    bool yarn;
    hp->rope_factor = hybrid__key_positive(keys, "rope.scaling.factor",
                                           hybrid__key_positive(keys, "rope.scale_linear", 1));
    if (hp->rope_factor == 0) hp->rope_factor = 1;     /* some files say "none" so */
    hp->rope_attn_factor = hybrid__key_float(keys, "rope.scaling.attn_factor", 1);
    if (!(hp->rope_attn_factor > 0))
        hybrid__key_fail(keys, "rope.scaling.attn_factor",
                         "is not positive: nothing would be left of queries and keys");
    hp->yarn_beta_fast = hybrid__key_float(keys, "rope.scaling.yarn_beta_fast", 32);
    hp->yarn_beta_slow = hybrid__key_float(keys, "rope.scaling.yarn_beta_slow", 1);
    if (!(hp->yarn_beta_fast > 0)) hybrid__key_fail(keys, "rope.scaling.yarn_beta_fast", "is not positive");
    if (!(hp->yarn_beta_slow > 0)) hybrid__key_fail(keys, "rope.scaling.yarn_beta_slow", "is not positive");
    hp->n_ctx_orig = hybrid__key_int(keys, "rope.scaling.original_context_length", 0, INT32_MAX, 0);
    if (!hp->n_ctx_orig) hp->n_ctx_orig = hp->n_ctx_train;
    hp->rope_scaling = hybrid__rope_scaling_of(keys, hp);
    yarn = hp->rope_scaling == HYBRID__SCALING_YARN;
    hybrid__key_must(keys, "rope.scaling.yarn_ext_factor", yarn ? 1 : 0, -1, "another share of YaRN");
    if (hp->rope_scaling != HYBRID__SCALING_LONGROPE) return;
    hybrid__key_must(keys, "rope.scaling.factor", 0, 1, "a factor beside those of longrope");
    if (hp->rope_factor != 1) hybrid__key_must(keys, "rope.scale_linear", 0, 1, "a factor beside those of longrope");
}

/* After the window, which says whether there are layers of two kinds. */
static void hybrid__read_rope(hybrid__keys *keys, hybrid__hparams *hp)
{
    hp->n_rot = hybrid__key_int(keys, "rope.dimension_count", 1, hp->head_dim_k, hp->head_dim_k);
    if (hp->n_rot % 2) hybrid__key_fail(keys, "rope.dimension_count", "is odd");
    hybrid__key_must(keys, "rope.dimension_count_swa", hp->n_rot, hp->n_rot,
                     "another rotation in layers with a window");
    /* the names of the second place are those of ollama's converter */
    hp->rope_base = hybrid__key_float(keys, "rope.freq_base", hybrid__key_float(keys, "rope.global.freq_base", 10000));
    hp->rope_base_local = hp->arch->local_rope_base != 0 ? hp->arch->local_rope_base : hp->rope_base;
    hp->rope_base_local = hybrid__key_float(keys, "rope.freq_base_swa",
                                            hybrid__key_float(keys, "rope.local.freq_base", hp->rope_base_local));
    if (!(hp->rope_base > 0)) hybrid__key_fail(keys, "rope.freq_base", "is not positive");
    if (!(hp->rope_base_local > 0)) hybrid__key_fail(keys, "rope.freq_base_swa", "is not positive");
    hp->rope_local = hp->window && (hp->arch->local_rope_base != 0 || hp->rope_base_local != hp->rope_base);
    hybrid__read_rope_scaling(keys, hp);
}

/* Newer files spell the pattern out: a number (every n-th layer sees everything) or a flag for each layer, which must
 * be such a pattern. */
static void hybrid__read_window_pattern(hybrid__keys *keys, hybrid__hparams *hp)
{
    const bool all = hp->arch->window == HYBRID__WINDOW_ALL;
    hybrid_gguf_value value;
    uint64_t i, n = (uint64_t)hp->n_layer;
    hp->window_period = hp->arch->window_period;
    if (!hybrid__key_find(keys, "attention.sliding_window_pattern", &value) || !hp->window) return;
    if (value.type != HYBRID_GGUF_ARRAY) {
        if (all) hybrid__key_must(keys, "attention.sliding_window_pattern", 0, 0, "a window in some layers only");
        else hp->window_period = hybrid__key_int(keys, "attention.sliding_window_pattern", 1, 1 << 20, 1);
        return;
    }
    if (!hybrid__gguf_number_size(value.item_type) || value.count < n) {
        hybrid__key_fail(keys, "attention.sliding_window_pattern", "has no flag for each layer");
        return;
    }
    for (i = 0; i < n && !keys->result; i++)
        if ((hybrid_gguf_item_f64(&value, i) != 0) != (all || (i + 1) % (uint64_t)hp->window_period != 0))
            keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                        "this pattern of windows (key '%s.attention.sliding_window_pattern', layer %d) "
                                        "is not supported", keys->arch, (int)i);
}

static void hybrid__read_window(hybrid__keys *keys, hybrid__hparams *hp)
{
    hp->window = hybrid__key_int(keys, "attention.sliding_window", 0, INT32_MAX, hp->arch->window_default);
    if (hp->arch->window == HYBRID__WINDOW_NONE) {
        /* a longer one hides nothing that the model was trained on */
        if (hp->window && hp->window < hp->n_ctx_train && !keys->result)
            keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                        "the model's key '%s.attention.sliding_window' is %d: windows are not "
                                        "supported "
                                        "for this architecture", keys->arch, hp->window);
        hp->window = 0;
    }
    hybrid__read_window_pattern(keys, hp);
}

/* How wide a matrix of the first layer is: what files say that have no key for it. */
static int64_t hybrid__first_width(const hybrid__keys *keys, const char *name, int64_t fallback)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(keys->gguf, name);
    return t ? (int64_t)HYBRID__MIN(t->ne[1], (uint64_t)1 << 24) : fallback;
}

/* Numbers of experts that there are not: whatever they say. */
static void hybrid__read_no_experts(hybrid__keys *keys)
{
    const int32_t used = hybrid__key_int(keys, "expert_used_count", 0, INT32_MAX, 0);
    if (used && !keys->result)
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_FORMAT,
                                    "the model's key '%s.expert_used_count' is %d, but '%s.expert_count' is missing "
                                    "or 0",
                                    keys->arch, used, keys->arch);
    hybrid__key_int(keys, "expert_shared_count", 0, INT32_MAX, 0);
    hybrid__key_int(keys, "expert_feed_forward_length", 0, INT32_MAX, 0);
    hybrid__key_int(keys, "expert_shared_feed_forward_length", 0, INT32_MAX, 0);
    hybrid__key_int(keys, "expert_gating_func", 0, 255, 0);
    hybrid__key_bool(keys, "expert_weights_norm", false);
    hybrid__key_float(keys, "expert_weights_scale", 0);
}

static void hybrid__read_experts(hybrid__keys *keys, hybrid__hparams *hp)
{
    const bool shared = hp->arch->mixture == HYBRID__MIXTURE_SHARES;
    const int64_t most = 1 << 24;
    hp->n_expert = hybrid__key_int(keys, "expert_count", 0, HYBRID__EXPERTS_MAX, 0);
    if (!hp->n_expert) hybrid__read_no_experts(keys);
    if (!hp->n_expert || keys->result) return;
    if (hp->arch->mixture == HYBRID__MIXTURE_NONE) {
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                    "a mixture of %d experts of the architecture '%s' is not supported "
                                    "(supported: llama, as Mixtral, qwen2moe, qwen3moe)", hp->n_expert, keys->arch);
        return;
    }
    if (hp->n_expert == 1) hybrid__key_fail(keys, "expert_count", "is 1: a choice of one is none");
    hp->n_expert_used = hybrid__key_int(keys, "expert_used_count", 1, HYBRID__MIN(hp->n_expert, (int32_t)HYBRID__EXPERTS_USED_MAX), 0);
    hp->n_ff_expert = hybrid__key_int(keys, "expert_feed_forward_length", 1, most, hybrid__first_width(keys, "blk.0.ffn_up_exps.weight", hp->n_ff));
    hybrid__key_must(keys, "expert_shared_count", 0, shared, "an expert that sees every token");
    if (!shared) hybrid__key_must(keys, "expert_shared_feed_forward_length", 0, 0, "an expert that sees every token");
    else hp->n_ff_shared = hybrid__key_int(keys, "expert_shared_feed_forward_length", 1, most,
                                           hybrid__first_width(keys, "blk.0.ffn_up_shexp.weight", 0));
    hp->expert_norm = hybrid__key_bool(keys, "expert_weights_norm", hp->arch->mixture == HYBRID__MIXTURE_NORMED);
    hp->expert_scale = hybrid__key_float(keys, "expert_weights_scale", 1);
    if (hp->expert_scale == 0) hp->expert_scale = 1;   /* some files say "none" so */
    hybrid__key_must(keys, "expert_gating_func", 0, 1, "another choice of experts than by softmax");
}

static void hybrid__read_attention(hybrid__keys *keys, hybrid__hparams *hp)
{
    hp->head_dim_k = hybrid__key_int(keys, "attention.key_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->head_dim_v = hybrid__key_int(keys, "attention.value_length", 1, 4096, hp->n_embd / hp->n_head);
    hybrid__key_must(keys, "attention.key_length_swa", hp->head_dim_k, hp->head_dim_k,
                     "heads of another size in layers with a window");
    hybrid__key_must(keys, "attention.value_length_swa", hp->head_dim_v, hp->head_dim_v,
                     "heads of another size in layers with a window");
    hp->attn_scale = hybrid__key_float(keys, "attention.scale", 0);
    hp->attn_softcap = hybrid__key_positive(keys, "attn_logit_softcapping", hp->arch->attn_softcap);
    if (hp->attn_scale != 0) return;
    hp->attn_scale = 1 / sqrtf((float)hp->head_dim_k);
    /* the 27B models of two families scale by the width of a head that they do not have; their files do not say so */
    if ((hp->n_layer == 46 && !strcmp(hp->arch->name, "gemma2")) || (hp->n_layer == 62 && !strcmp(hp->arch->name, "gemma3")))
        hp->attn_scale = 1 / sqrtf((float)hp->n_embd / (float)hp->n_head);
}

static void hybrid__read_all(hybrid__keys *keys, hybrid__hparams *hp)
{
    const int64_t most = 1 << 24;
    const bool layer_norm = hp->arch->norm == HYBRID__NORM_LAYER;
    hp->n_embd = hybrid__key_int(keys, "embedding_length", 1, most, 0);
    hp->n_layer = hybrid__key_int(keys, "block_count", 1, 4096, 0);
    hp->n_ctx_train = hybrid__key_int(keys, "context_length", 1, INT32_MAX, 0);
    hp->n_ff = hybrid__key_int(keys, "feed_forward_length", 1, most, 0);
    hp->n_head = hybrid__key_int(keys, "attention.head_count", 1, 4096, 0);
    hp->n_head_kv = hybrid__key_int(keys, "attention.head_count_kv", 1, 4096, hp->n_head);
    if (hp->n_head % hp->n_head_kv) hybrid__key_fail(keys, "attention.head_count", "is no multiple of head_count_kv");
    hybrid__key_must(keys, "embedding_length_out", hp->n_embd, 0, "an output of another width");
    if (keys->result) return;
    hp->norm_eps = layer_norm ? hybrid__key_positive(keys, "attention.layer_norm_epsilon", 1e-5f)
                              : hybrid__key_positive(keys, "attention.layer_norm_rms_epsilon", NAN);
    hybrid__read_attention(keys, hp);
    hybrid__read_window(keys, hp);
    if (!hp->arch->learned_pos) hybrid__read_rope(keys, hp);
    hybrid__read_experts(keys, hp);
    hp->logit_softcap = hybrid__key_positive(keys, "final_logit_softcapping", hp->arch->logit_softcap);
    hp->embd_scale = hp->arch->scale_embd ? sqrtf((float)hp->n_embd) : 1;
}

/* Files that are no language models, by what they are; people meet these. NULL: it may be one. */
static const char *hybrid__file_is(const hybrid_gguf *gguf, hybrid_string architecture)
{
    static const char *const pictures[] = { "flux", "sd1", "sd3", "sdxl", "wan", "ltxv", "hyvid", "lumina2",
                                           "qwen_image", "aura", "hidream", "cosmos" };
    hybrid_string type = { NULL, 0 };
    size_t i;
    hybrid_gguf_get_string(gguf, "general.type", &type);
    if (hybrid__string_is(type, "adapter") || hybrid_gguf_find(gguf, "adapter.type", NULL) ||
        hybrid_gguf_find(gguf, "adapter.lora.alpha", NULL))
        return "an adapter (LoRA), which hybrid cannot apply yet: load the model that it belongs to";
    if (hybrid__string_is(type, "mmproj") || hybrid__string_is(architecture, "clip"))
        return "the half of a model that sees or hears (mmproj): load the language model beside it, with which "
               "hybrid reads and writes text";
    if (hybrid__string_is(type, "imatrix") || hybrid_gguf_find(gguf, "imatrix.datasets", NULL))
        return "an importance matrix, which is made for quantizing a model: load the model itself";
    if (hybrid__string_is(architecture, "controlvector") || hybrid_gguf_find(gguf, "controlvector.model_hint", NULL))
        return "a control vector, which hybrid cannot apply yet: load the model that it belongs to";
    for (i = 0; i < HYBRID__COUNT(pictures); i++)
        if (hybrid__string_is(architecture, pictures[i]))
            return "a model that makes pictures or films: hybrid runs language models";
    return NULL;
}

static hybrid_result hybrid__arch_find(const hybrid_gguf *gguf, const hybrid__arch **arch, hybrid_error *error)
{
    hybrid_string name = { NULL, 0 }, base = { NULL, 0 };
    hybrid_gguf_value value;
    char text[64];
    const char *other;
    const bool found = hybrid_gguf_find(gguf, "general.architecture", &value);
    const bool is_string = hybrid_gguf_get_string(gguf, "general.architecture", &name);
    size_t i;
    if ((other = hybrid__file_is(gguf, name)) != NULL) {
        if (hybrid_gguf_get_string(gguf, "general.base_model.0.name", &base) && base.size)
            return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s ('%s')", other,
                                hybrid__printable(base, text));
        if (name.size)
            return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s (architecture '%s')", other,
                                hybrid__printable(name, text));
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s", other);
    }
    if (!found)
        return hybrid__fail(error, HYBRID_ERROR_FORMAT,
                            "the file has no key 'general.architecture': it is not a model");
    if (!is_string)
        return hybrid__fail(error, HYBRID_ERROR_FORMAT,
                            "the key 'general.architecture' has a value of type %s, must be a string: the file is "
                            "damaged",
                            hybrid_gguf_type_name(value.type));
    for (i = 0; i < HYBRID__COUNT(hybrid__archs); i++) {
        *arch = &hybrid__archs[i];
        if (hybrid__string_is(name, hybrid__archs[i].name)) return HYBRID_OK;
    }
    return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "architecture '%s' is not supported (supported: llama, mistral, qwen2, qwen2moe, qwen3, "
                        "qwen3moe, phi3, "
                        "gemma2, gemma3, gpt2)", hybrid__printable(name, text));
}

/* Reads and checks everything but n_vocab, which is a matter of tensors. Sizes are bounded so that products of two fit
 * 63 bits. */
static hybrid_result hybrid__hparams_read(hybrid_runtime *rt, const hybrid_gguf *gguf, hybrid__hparams *hp,
                                          hybrid_error *error)
{
    const size_t n = hybrid_gguf_key_count(gguf);
    hybrid__keys keys;
    hybrid_result r;
    memset(hp, 0, sizeof *hp);
    if ((r = hybrid__arch_find(gguf, &hp->arch, error)) != HYBRID_OK) return r;
    memset(&keys, 0, sizeof keys);
    keys.gguf = gguf; keys.arch = hp->arch->name; keys.error = error;
    if (!(keys.seen = (unsigned char *)hybrid__calloc(rt, n, 1))) return hybrid__fail_memory(error, n);
    hybrid__read_all(&keys, hp);
    if (!keys.result) hybrid__keys_finish(&keys, rt);
    hybrid__free(rt, keys.seen);
    return keys.result;
}
