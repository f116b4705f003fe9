/* model/hparams: the table of architectures, and the numbers of one model, read from its GGUF keys.
 *
 * A family is a row of switches. What a file shows by having a tensor or not (biases, fused matrices, a tied head,
 * experts in this layer or not) is not in the table: model/weights looks. Norms of q and k and norms behind a block
 * stand here, because a family has them or not. */

typedef enum hyb_window_kind {
    HYB_WINDOW_NONE,
    HYB_WINDOW_ALL,    /* every layer, when the file gives a window */
    HYB_WINDOW_PATTERN /* every layer but each `period`-th */
} hyb_window_kind;

/* Mixtures of experts: what the weights of the chosen ones are. */
typedef enum hyb_mixture {
    HYB_MIXTURE_NONE,   /* the family has no experts */
    HYB_MIXTURE_SHARES, /* their shares of a softmax; and one expert that sees every token */
    HYB_MIXTURE_NORMED  /* made to sum to 1 */
} hyb_mixture;

/* Tensors that a family has in every layer; a file of another family that holds them is refused. */
enum { HYB_PART_QK_NORM = 1, HYB_PART_POST_NORM = 2, HYB_PART_PLAIN_FFN = 4 /* no gate */ };

typedef struct hyb_arch {
    const char *name; /* general.architecture */
    hyb_norm_kind norm;
    hyb_rope_kind rope;
    hyb_act_kind act;
    unsigned parts;   /* HYB_PART_... */
    bool learned_pos; /* a table of positions instead of rope */
    bool scale_embd;  /* embeddings times sqrt(n_embd) */
    hyb_window_kind window;
    int window_period;
    int32_t window_default;            /* of files without the key */
    float local_rope_base;             /* base of windowed layers; 0: the same as elsewhere */
    float attn_softcap, logit_softcap; /* of files without the keys; 0: none */
    hyb_mixture mixture;
} hyb_arch;

#define HYB_RMS HYB_NORM_RMS
#define HYB_NEOX HYB_ROPE_NEOX
#define HYB_GELU HYB_ACT_GELU_TANH
#define HYB_SILU HYB_ACT_SILU
#define HYB_QK HYB_PART_QK_NORM
#define HYB_POST HYB_PART_POST_NORM
static const hyb_arch hyb_archs[] = {
    /* name,     norm, rope, act, parts, pos, scale, window, period, default, base, caps, mixture */
    { "llama", HYB_RMS, HYB_ROPE_NORM, HYB_SILU, 0, false, false, HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NORMED },
    { "mistral", HYB_RMS, HYB_ROPE_NORM, HYB_SILU, 0, false, false, HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen2", HYB_RMS, HYB_NEOX, HYB_SILU, 0, false, false, HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen2moe", HYB_RMS, HYB_NEOX, HYB_SILU, 0, false, false, HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_SHARES },
    { "qwen3", HYB_RMS, HYB_NEOX, HYB_SILU, HYB_QK, false, false, HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "qwen3moe", HYB_RMS, HYB_NEOX, HYB_SILU, HYB_QK, false, false, HYB_WINDOW_NONE, 0, 0, 0, 0, 0,
      HYB_MIXTURE_NORMED },
    { "phi3", HYB_RMS, HYB_NEOX, HYB_SILU, 0, false, false, HYB_WINDOW_ALL, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
    { "gemma2", HYB_RMS, HYB_NEOX, HYB_GELU, HYB_POST, false, true, HYB_WINDOW_PATTERN, 2, 4096, 0, 50, 30,
      HYB_MIXTURE_NONE },
    { "gemma3", HYB_RMS, HYB_NEOX, HYB_GELU, HYB_QK | HYB_POST, false, true, HYB_WINDOW_PATTERN, 6, 0, 10000, 0, 0,
      HYB_MIXTURE_NONE },
    { "gpt2", HYB_NORM_LAYER, HYB_ROPE_NORM, HYB_GELU, HYB_PART_PLAIN_FFN, true, false, HYB_WINDOW_NONE, 0, 0, 0, 0, 0,
      HYB_MIXTURE_NONE },
};
#undef HYB_RMS
#undef HYB_NEOX
#undef HYB_GELU
#undef HYB_SILU
#undef HYB_QK
#undef HYB_POST

/* How positions are stretched beyond the context of training: see model/rope. */
typedef enum hyb_rope_scaling {
    HYB_SCALING_NONE,
    HYB_SCALING_LINEAR,
    HYB_SCALING_YARN,
    HYB_SCALING_LONGROPE
} hyb_rope_scaling;

typedef struct hyb_hparams {
    const hyb_arch *arch;
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim_k, head_dim_v, n_ff;
    float norm_eps;
    int32_t n_rot;
    float rope_base, rope_base_local;
    bool rope_local; /* windowed layers have angles of their own */
    hyb_rope_scaling rope_scaling;
    float rope_factor;      /* linear, yarn: positions stretched by it */
    float rope_attn_factor; /* longrope, yarn: cos and sin times it */
    float yarn_beta_fast, yarn_beta_slow;
    int32_t n_ctx_orig;            /* context before stretching */
    int32_t window, window_period; /* window 0: none */
    float attn_scale, attn_softcap, logit_softcap, embd_scale;
    int32_t n_expert, n_expert_used;  /* 0: no experts */
    int32_t n_ff_expert, n_ff_shared; /* width of each, and of the one that sees every token; 0: there is none such */
    bool expert_norm;                 /* weights of the chosen ones sum to 1 */
    float expert_scale;               /* and are multiplied by it */
} hyb_hparams;

static bool hyb_layer_is_local(const hyb_hparams *hp, int layer)
{
    if (!hp->window || hp->arch->window == HYB_WINDOW_NONE) return false;
    return hp->arch->window == HYB_WINDOW_ALL || (layer + 1) % hp->window_period != 0;
}

/* What a type of scaling is called in files. */
static hyb_rope_scaling hyb_rope_scaling_of(hyb_keys *keys, const hyb_hparams *hp)
{
    static const char *const names[] = { "none", "linear", "yarn", "longrope" };
    hybrid_string name;
    char text[64];
    int i;
    if (!hyb_key_string(keys, "rope.scaling.type", &name)) {
        if (hybrid_gguf_find_tensor(keys->gguf, "rope_factors_long.weight")) return HYB_SCALING_LONGROPE;
        return hp->rope_factor != 1 ? HYB_SCALING_LINEAR : HYB_SCALING_NONE;
    }
    for (i = 0; i < 4; i++)
        if (hyb_string_is(name, names[i])) return (hyb_rope_scaling)i;
    if (!keys->result)
        keys->result = hyb_fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                "rope scaling '%s' (key '%s.rope.scaling.type') is not supported",
                                hyb_printable(name, text), keys->arch);
    return HYB_SCALING_NONE;
}

static void hyb_read_rope_scaling(hyb_keys *keys, hyb_hparams *hp)
{
    bool yarn;
    hp->rope_factor = hyb_key_positive(keys, "rope.scaling.factor", hyb_key_positive(keys, "rope.scale_linear", 1));
    if (hp->rope_factor == 0) hp->rope_factor = 1; /* some files say "none" so */
    hp->rope_attn_factor = hyb_key_float(keys, "rope.scaling.attn_factor", 1);
    if (!(hp->rope_attn_factor > 0))
        hyb_key_fail(keys, "rope.scaling.attn_factor", "is not positive: nothing would be left of queries and keys");
    hp->yarn_beta_fast = hyb_key_float(keys, "rope.scaling.yarn_beta_fast", 32);
    hp->yarn_beta_slow = hyb_key_float(keys, "rope.scaling.yarn_beta_slow", 1);
    if (!(hp->yarn_beta_fast > 0)) hyb_key_fail(keys, "rope.scaling.yarn_beta_fast", "is not positive");
    if (!(hp->yarn_beta_slow > 0)) hyb_key_fail(keys, "rope.scaling.yarn_beta_slow", "is not positive");
    hp->n_ctx_orig = hyb_key_int(keys, "rope.scaling.original_context_length", 0, INT32_MAX, 0);
    if (!hp->n_ctx_orig) hp->n_ctx_orig = hp->n_ctx_train;
    hp->rope_scaling = hyb_rope_scaling_of(keys, hp);
    yarn = hp->rope_scaling == HYB_SCALING_YARN;
    hyb_key_must(keys, "rope.scaling.yarn_ext_factor", yarn ? 1 : 0, -1, "another share of YaRN");
    if (hp->rope_scaling != HYB_SCALING_LONGROPE) return;
    hyb_key_must(keys, "rope.scaling.factor", 0, 1, "a factor beside those of longrope");
    if (hp->rope_factor != 1) hyb_key_must(keys, "rope.scale_linear", 0, 1, "a factor beside those of longrope");
}

/* After the window, which says whether there are layers of two kinds. */
static void hyb_read_rope(hyb_keys *keys, hyb_hparams *hp)
{
    hp->n_rot = hyb_key_int(keys, "rope.dimension_count", 1, hp->head_dim_k, hp->head_dim_k);
    if (hp->n_rot % 2) hyb_key_fail(keys, "rope.dimension_count", "is odd");
    hyb_key_must(keys, "rope.dimension_count_swa", hp->n_rot, hp->n_rot, "another rotation in layers with a window");
    /* the names of the second place are those of ollama's converter */
    hp->rope_base = hyb_key_float(keys, "rope.freq_base", hyb_key_float(keys, "rope.global.freq_base", 10000));
    hp->rope_base_local = hp->arch->local_rope_base != 0 ? hp->arch->local_rope_base : hp->rope_base;
    hp->rope_base_local =
        hyb_key_float(keys, "rope.freq_base_swa", hyb_key_float(keys, "rope.local.freq_base", hp->rope_base_local));
    if (!(hp->rope_base > 0)) hyb_key_fail(keys, "rope.freq_base", "is not positive");
    if (!(hp->rope_base_local > 0)) hyb_key_fail(keys, "rope.freq_base_swa", "is not positive");
    hp->rope_local = hp->window && (hp->arch->local_rope_base != 0 || hp->rope_base_local != hp->rope_base);
    hyb_read_rope_scaling(keys, hp);
}

/* Newer files spell the pattern out: a number (every n-th layer sees everything) or a flag for each layer, which must
 * be such a pattern. */
static void hyb_read_window_pattern(hyb_keys *keys, hyb_hparams *hp)
{
    const bool all = hp->arch->window == HYB_WINDOW_ALL;
    hybrid_gguf_value value;
    uint64_t i, n = (uint64_t)hp->n_layer;
    hp->window_period = hp->arch->window_period;
    if (!hyb_key_find(keys, "attention.sliding_window_pattern", &value) || !hp->window) return;
    if (value.type != HYBRID_GGUF_ARRAY) {
        if (all)
            hyb_key_must(keys, "attention.sliding_window_pattern", 0, 0, "a window in some layers only");
        else
            hp->window_period = hyb_key_int(keys, "attention.sliding_window_pattern", 1, 1 << 20, 1);
        return;
    }
    if (!hyb_gguf_number_size(value.item_type) || value.count < n) {
        hyb_key_fail(keys, "attention.sliding_window_pattern", "has no flag for each layer");
        return;
    }
    for (i = 0; i < n && !keys->result; i++)
        if ((hybrid_gguf_item_f64(&value, i) != 0) != (all || (i + 1) % (uint64_t)hp->window_period != 0))
            keys->result = hyb_fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                    "this pattern of windows (key '%s.attention.sliding_window_pattern', layer %d) "
                                    "is not supported",
                                    keys->arch, (int)i);
}

static void hyb_read_window(hyb_keys *keys, hyb_hparams *hp)
{
    hp->window = hyb_key_int(keys, "attention.sliding_window", 0, INT32_MAX, hp->arch->window_default);
    if (hp->arch->window == HYB_WINDOW_NONE) {
        /* a longer one hides nothing that the model was trained on */
        if (hp->window && hp->window < hp->n_ctx_train && !keys->result)
            keys->result = hyb_fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                    "the model's key '%s.attention.sliding_window' is %d: windows are not "
                                    "supported "
                                    "for this architecture",
                                    keys->arch, hp->window);
        hp->window = 0;
    }
    hyb_read_window_pattern(keys, hp);
}

/* How wide a matrix of the first layer is: what files say that have no key for it. */
static int64_t hyb_first_width(const hyb_keys *keys, const char *name, int64_t fallback)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(keys->gguf, name);
    return t ? (int64_t)HYB_MIN(t->ne[1], (uint64_t)1 << 24) : fallback;
}

/* Numbers of experts that there are not: whatever they say. */
static void hyb_read_no_experts(hyb_keys *keys)
{
    const int32_t used = hyb_key_int(keys, "expert_used_count", 0, INT32_MAX, 0);
    if (used && !keys->result)
        keys->result = hyb_fail(keys->error, HYBRID_ERROR_FORMAT,
                                "the model's key '%s.expert_used_count' is %d, but '%s.expert_count' is missing "
                                "or 0",
                                keys->arch, used, keys->arch);
    hyb_key_int(keys, "expert_shared_count", 0, INT32_MAX, 0);
    hyb_key_int(keys, "expert_feed_forward_length", 0, INT32_MAX, 0);
    hyb_key_int(keys, "expert_shared_feed_forward_length", 0, INT32_MAX, 0);
    hyb_key_int(keys, "expert_gating_func", 0, 255, 0);
    hyb_key_bool(keys, "expert_weights_norm", false);
    hyb_key_float(keys, "expert_weights_scale", 0);
}

static void hyb_read_experts(hyb_keys *keys, hyb_hparams *hp)
{
    const bool shared = hp->arch->mixture == HYB_MIXTURE_SHARES;
    const int64_t most = 1 << 24;
    hp->n_expert = hyb_key_int(keys, "expert_count", 0, HYB_EXPERTS_MAX, 0);
    if (!hp->n_expert) hyb_read_no_experts(keys);
    if (!hp->n_expert || keys->result) return;
    if (hp->arch->mixture == HYB_MIXTURE_NONE) {
        keys->result = hyb_fail(keys->error, HYBRID_ERROR_UNSUPPORTED,
                                "a mixture of %d experts of the architecture '%s' is not supported "
                                "(supported: llama, as Mixtral, qwen2moe, qwen3moe)",
                                hp->n_expert, keys->arch);
        return;
    }
    if (hp->n_expert == 1) hyb_key_fail(keys, "expert_count", "is 1: a choice of one is none");
    hp->n_expert_used =
        hyb_key_int(keys, "expert_used_count", 1, HYB_MIN(hp->n_expert, (int32_t)HYB_EXPERTS_USED_MAX), 0);
    hp->n_ff_expert = hyb_key_int(keys, "expert_feed_forward_length", 1, most,
                                  hyb_first_width(keys, "blk.0.ffn_up_exps.weight", hp->n_ff));
    hyb_key_must(keys, "expert_shared_count", 0, shared, "an expert that sees every token");
    if (!shared)
        hyb_key_must(keys, "expert_shared_feed_forward_length", 0, 0, "an expert that sees every token");
    else
        hp->n_ff_shared = hyb_key_int(keys, "expert_shared_feed_forward_length", 1, most,
                                      hyb_first_width(keys, "blk.0.ffn_up_shexp.weight", 0));
    hp->expert_norm = hyb_key_bool(keys, "expert_weights_norm", hp->arch->mixture == HYB_MIXTURE_NORMED);
    hp->expert_scale = hyb_key_float(keys, "expert_weights_scale", 1);
    if (hp->expert_scale == 0) hp->expert_scale = 1; /* some files say "none" so */
    hyb_key_must(keys, "expert_gating_func", 0, 1, "another choice of experts than by softmax");
}

static void hyb_read_attention(hyb_keys *keys, hyb_hparams *hp)
{
    hp->head_dim_k = hyb_key_int(keys, "attention.key_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->head_dim_v = hyb_key_int(keys, "attention.value_length", 1, 4096, hp->n_embd / hp->n_head);
    hyb_key_must(keys, "attention.key_length_swa", hp->head_dim_k, hp->head_dim_k,
                 "heads of another size in layers with a window");
    hyb_key_must(keys, "attention.value_length_swa", hp->head_dim_v, hp->head_dim_v,
                 "heads of another size in layers with a window");
    hp->attn_scale = hyb_key_float(keys, "attention.scale", 0);
    hp->attn_softcap = hyb_key_positive(keys, "attn_logit_softcapping", hp->arch->attn_softcap);
    if (hp->attn_scale != 0) return;
    hp->attn_scale = 1 / sqrtf((float)hp->head_dim_k);
    /* the 27B models of two families scale by the width of a head that they do not have; their files do not say so */
    if ((hp->n_layer == 46 && !strcmp(hp->arch->name, "gemma2")) ||
        (hp->n_layer == 62 && !strcmp(hp->arch->name, "gemma3")))
        hp->attn_scale = 1 / sqrtf((float)hp->n_embd / (float)hp->n_head);
}

static void hyb_read_all(hyb_keys *keys, hyb_hparams *hp)
{
    const int64_t most = 1 << 24;
    const bool layer_norm = hp->arch->norm == HYB_NORM_LAYER;
    hp->n_embd = hyb_key_int(keys, "embedding_length", 1, most, 0);
    hp->n_layer = hyb_key_int(keys, "block_count", 1, 4096, 0);
    hp->n_ctx_train = hyb_key_int(keys, "context_length", 1, INT32_MAX, 0);
    hp->n_ff = hyb_key_int(keys, "feed_forward_length", 1, most, 0);
    hp->n_head = hyb_key_int(keys, "attention.head_count", 1, 4096, 0);
    hp->n_head_kv = hyb_key_int(keys, "attention.head_count_kv", 1, 4096, hp->n_head);
    if (hp->n_head % hp->n_head_kv) hyb_key_fail(keys, "attention.head_count", "is no multiple of head_count_kv");
    hyb_key_must(keys, "embedding_length_out", hp->n_embd, 0, "an output of another width");
    if (keys->result) return;
    hp->norm_eps = layer_norm ? hyb_key_positive(keys, "attention.layer_norm_epsilon", 1e-5f)
                              : hyb_key_positive(keys, "attention.layer_norm_rms_epsilon", NAN);
    hyb_read_attention(keys, hp);
    hyb_read_window(keys, hp);
    if (!hp->arch->learned_pos) hyb_read_rope(keys, hp);
    hyb_read_experts(keys, hp);
    hp->logit_softcap = hyb_key_positive(keys, "final_logit_softcapping", hp->arch->logit_softcap);
    hp->embd_scale = hp->arch->scale_embd ? sqrtf((float)hp->n_embd) : 1;
}

/* Files that are no language models, by what they are; people meet these. NULL: it may be one. */
static const char *hyb_file_is(const hybrid_gguf *gguf, hybrid_string architecture)
{
    static const char *const pictures[] = { "flux",  "sd1",     "sd3",        "sdxl", "wan",     "ltxv",
                                            "hyvid", "lumina2", "qwen_image", "aura", "hidream", "cosmos" };
    hybrid_string type = { NULL, 0 };
    size_t i;
    hybrid_gguf_get_string(gguf, "general.type", &type);
    if (hyb_string_is(type, "adapter") || hybrid_gguf_find(gguf, "adapter.type", NULL) ||
        hybrid_gguf_find(gguf, "adapter.lora.alpha", NULL))
        return "an adapter (LoRA), which hybrid cannot apply yet: load the model that it belongs to";
    if (hyb_string_is(type, "mmproj") || hyb_string_is(architecture, "clip"))
        return "the half of a model that sees or hears (mmproj): load the language model beside it, with which "
               "hybrid reads and writes text";
    if (hyb_string_is(type, "imatrix") || hybrid_gguf_find(gguf, "imatrix.datasets", NULL))
        return "an importance matrix, which is made for quantizing a model: load the model itself";
    if (hyb_string_is(architecture, "controlvector") || hybrid_gguf_find(gguf, "controlvector.model_hint", NULL))
        return "a control vector, which hybrid cannot apply yet: load the model that it belongs to";
    for (i = 0; i < HYB_COUNT(pictures); i++)
        if (hyb_string_is(architecture, pictures[i]))
            return "a model that makes pictures or films: hybrid runs language models";
    return NULL;
}

static hybrid_result hyb_arch_find(const hybrid_gguf *gguf, const hyb_arch **arch, hybrid_error *error)
{
    hybrid_string name = { NULL, 0 }, base = { NULL, 0 };
    hybrid_gguf_value value;
    char text[64];
    const char *other;
    const bool found = hybrid_gguf_find(gguf, "general.architecture", &value);
    const bool is_string = hybrid_gguf_get_string(gguf, "general.architecture", &name);
    size_t i;
    if ((other = hyb_file_is(gguf, name)) != NULL) {
        if (hybrid_gguf_get_string(gguf, "general.base_model.0.name", &base) && base.size)
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s ('%s')", other,
                            hyb_printable(base, text));
        if (name.size)
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s (architecture '%s')", other,
                            hyb_printable(name, text));
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is %s", other);
    }
    if (!found)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "the file has no key 'general.architecture': it is not a model");
    if (!is_string)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the key 'general.architecture' has a value of type %s, must be a string: the file is "
                        "damaged",
                        hybrid_gguf_type_name(value.type));
    for (i = 0; i < HYB_COUNT(hyb_archs); i++) {
        *arch = &hyb_archs[i];
        if (hyb_string_is(name, hyb_archs[i].name)) return HYBRID_OK;
    }
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "architecture '%s' is not supported (supported: llama, mistral, qwen2, qwen2moe, qwen3, "
                    "qwen3moe, phi3, "
                    "gemma2, gemma3, gpt2)",
                    hyb_printable(name, text));
}

/* Reads and checks everything but n_vocab, which is a matter of tensors. Sizes are bounded so that products of two fit
 * 63 bits. */
static hybrid_result hyb_hparams_read(hybrid_runtime *rt, const hybrid_gguf *gguf, hyb_hparams *hp, hybrid_error *error)
{
    const size_t n = hybrid_gguf_key_count(gguf);
    hyb_keys keys;
    hybrid_result r;
    memset(hp, 0, sizeof *hp);
    if ((r = hyb_arch_find(gguf, &hp->arch, error)) != HYBRID_OK) return r;
    memset(&keys, 0, sizeof keys);
    keys.gguf = gguf;
    keys.arch = hp->arch->name;
    keys.error = error;
    if (!(keys.seen = (unsigned char *)hyb_calloc(rt, n, 1))) return hyb_fail_memory(error, n);
    hyb_read_all(&keys, hp);
    if (!keys.result) hyb_keys_finish(&keys, rt);
    hyb_free(rt, keys.seen);
    return keys.result;
}
