/* model/hparams: the numbers of one model and of each of its layers, read from its GGUF keys. */
#ifndef HYB_MODEL_HPARAMS_C
#define HYB_MODEL_HPARAMS_C
#include "arch.c"
#include "keys.c"

/* How positions are stretched beyond the context of training: see model/rope. */
typedef enum hyb_rope_scaling {
    HYB_SCALING_NONE,
    HYB_SCALING_LINEAR,
    HYB_SCALING_YARN,
    HYB_SCALING_LONGROPE
} hyb_rope_scaling;

/* What may differ from layer to layer. */
typedef struct hyb_layer_hp {
    hyb_part_kind mixer, ffn;
    int32_t n_head, n_head_kv, n_ff;
    int32_t window;  /* 0: none */
    bool rope_local; /* angles of windowed layers */
} hyb_layer_hp;

/* n_head, n_head_kv, n_ff: the largest of any layer. */
typedef struct hyb_hparams {
    const hyb_arch *arch;
    hyb_layer_hp *layers;
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim_k, head_dim_v, n_ff;
    float norm_eps;
    int32_t n_rot;
    float rope_base, rope_base_local;
    bool rope_local; /* windowed layers have angles of their own */
    hyb_rope_scaling rope_scaling;
    float rope_factor;      /* linear, yarn: positions stretched by it */
    float rope_attn_factor; /* longrope, yarn: cos and sin times it */
    float yarn_beta_fast, yarn_beta_slow;
    int32_t n_ctx_orig; /* context before stretching */
    int32_t window;     /* of the layers that have one; 0: none */
    int32_t pooling;    /* how a text becomes one vector, as GGUF has it (hybrid_pooling); -1: the file does not say */
    int32_t n_taps;     /* of short convolutions */
    int32_t wkv_head_size;
    int32_t n_decay, n_rate, n_value_mix, n_gate; /* widths of time mixing's narrow products; n_gate 0: no gate */
    float attn_scale, attn_softcap, logit_softcap, embd_scale;
    int32_t n_expert, n_expert_used;  /* 0: no experts */
    int32_t n_ff_expert, n_ff_shared; /* width of each, and of the one that sees every token; 0: there is none */
    bool expert_norm;                 /* weights of the chosen ones sum to 1 */
    float expert_scale;               /* and are multiplied by it */
} hyb_hparams;

/* The types of scaling, by their names in files. */
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
    hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
             "rope scaling '%s' (key '%s.rope.scaling.type') is not supported", hyb_printable(name, text), keys->arch);
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

/* Comes after the window, which says whether there are layers of two kinds. */
static void hyb_read_rope(hyb_keys *keys, hyb_hparams *hp)
{
    int i;
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
    for (i = 0; i < hp->n_layer; i++) hp->layers[i].rope_local = hp->rope_local && hp->layers[i].window;
    hyb_read_rope_scaling(keys, hp);
}

/* Newer files give the pattern: a number (every n-th layer sees everything) or a flag for each layer. */
static void hyb_read_window_pattern(hyb_keys *keys, hyb_hparams *hp)
{
    const bool all = hp->arch->window == HYB_WINDOW_ALL;
    hybrid_gguf_value value;
    const bool found = hyb_key_find(keys, "attention.sliding_window_pattern", &value);
    int32_t period = hp->arch->window_period;
    bool flags = false;
    int i;
    if (!hp->window) return;
    if (found) {
        flags = value.type == HYBRID_GGUF_ARRAY;
        if (flags && (!hyb_gguf_number_size(value.item_type) || value.count < (uint64_t)hp->n_layer)) {
            hyb_key_fail(keys, "attention.sliding_window_pattern", "has no flag for each layer");
            return;
        }
        if (all)
            hyb_key_must(keys, "attention.sliding_window_pattern", flags, flags, "a window in some layers only");
        else if (!flags)
            period = hyb_key_int(keys, "attention.sliding_window_pattern", 1, 1 << 20, 1);
    }
    for (i = 0; i < hp->n_layer; i++) {
        const bool local = all || (flags ? hybrid_gguf_item_f64(&value, (uint64_t)i) != 0 : (i + 1) % period != 0);
        hp->layers[i].window = local ? hp->window : 0;
    }
}

static void hyb_read_window(hyb_keys *keys, hyb_hparams *hp)
{
    hp->window = hyb_key_int(keys, "attention.sliding_window", 0, INT32_MAX, hp->arch->window_default);
    if (hp->arch->window == HYB_WINDOW_NONE) {
        /* a longer one hides nothing that the model was trained on */
        if (hp->window && hp->window < hp->n_ctx_train)
            hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
                     "the model's key '%s.attention.sliding_window' is %d: windows are not "
                     "supported "
                     "for this architecture",
                     keys->arch, hp->window);
        hp->window = 0;
    }
    hyb_read_window_pattern(keys, hp);
}

/* The width of a matrix of the first layer, for files that have no key for it. */
static int64_t hyb_first_width(const hybrid_gguf *gguf, const char *name, int64_t fallback)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(gguf, name);
    return t ? (int64_t)HYB_MIN(t->ne[1], (uint64_t)1 << 24) : fallback;
}

/* Keys of experts in a model without them: they may say anything. */
static void hyb_read_no_experts(hyb_keys *keys)
{
    const int32_t used = hyb_key_int(keys, "expert_used_count", 0, INT32_MAX, 0);
    if (used)
        hyb_keep(&keys->failure, HYBRID_ERROR_FORMAT,
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
    char names[256];
    hp->n_expert = hyb_key_int(keys, "expert_count", 0, HYB_EXPERTS_MAX, 0);
    if (!hp->n_expert) hyb_read_no_experts(keys);
    if (!hp->n_expert || keys->failure.result) return;
    if (hp->arch->mixture == HYB_MIXTURE_NONE) {
        hyb_arch_names(true, names, sizeof names);
        hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
                 "a mixture of %d experts of the architecture '%s' is not supported (supported: %s)", hp->n_expert,
                 keys->arch, names);
        return;
    }
    if (hp->n_expert == 1) hyb_key_fail(keys, "expert_count", "is 1: there is nothing to choose");
    hp->n_expert_used =
        hyb_key_int(keys, "expert_used_count", 1, HYB_MIN(hp->n_expert, (int32_t)HYB_EXPERTS_USED_MAX), 0);
    hp->n_ff_expert = hyb_key_int(keys, "expert_feed_forward_length", 1, most,
                                  hyb_first_width(keys->gguf, "blk.0.ffn_up_exps.weight", hp->n_ff));
    hyb_key_must(keys, "expert_shared_count", 0, shared, "an expert that sees every token");
    if (!shared)
        hyb_key_must(keys, "expert_shared_feed_forward_length", 0, 0, "an expert that sees every token");
    else
        hp->n_ff_shared = hyb_key_int(keys, "expert_shared_feed_forward_length", 1, most,
                                      hyb_first_width(keys->gguf, "blk.0.ffn_up_shexp.weight", 0));
    hp->expert_norm = hyb_key_bool(keys, "expert_weights_norm", hp->arch->mixture == HYB_MIXTURE_NORMED);
    hp->expert_scale = hyb_key_float(keys, "expert_weights_scale", 1);
    if (hp->expert_scale == 0) hp->expert_scale = 1; /* some files say "none" so */
    hyb_key_must(keys, "expert_gating_func", 0, 1, "another choice of experts than by softmax");
}

static void hyb_read_attention(hyb_keys *keys, hyb_hparams *hp)
{
    const int32_t n = hp->n_embd / hp->layers[0].n_head;
    hp->head_dim_k = hyb_key_int(keys, "attention.key_length", 1, 4096, n);
    hp->head_dim_v = hyb_key_int(keys, "attention.value_length", 1, 4096, n);
    hyb_key_must(keys, "attention.key_length_swa", hp->head_dim_k, hp->head_dim_k,
                 "heads of another size in layers with a window");
    hyb_key_must(keys, "attention.value_length_swa", hp->head_dim_v, hp->head_dim_v,
                 "heads of another size in layers with a window");
    hp->attn_scale = hyb_key_float(keys, "attention.scale", 0);
    hp->attn_softcap = hyb_key_positive(keys, "attn_logit_softcapping", hp->arch->attn_softcap);
    if (hp->attn_scale != 0) return;
    hp->attn_scale = 1 / sqrtf((float)hp->head_dim_k);
    /* the 27B models of two families scale by a head width that is not theirs; their files do not say so */
    if ((hp->n_layer == 46 && !strcmp(hp->arch->name, "gemma2")) ||
        (hp->n_layer == 62 && !strcmp(hp->arch->name, "gemma3")))
        hp->attn_scale = 1 / sqrtf((float)hp->n_embd / (float)hp->n_head);
}

/* Time mixing and short convolutions. The widths of the narrow products must be those of the tensors. */
static void hyb_read_recurrent(hyb_keys *keys, hyb_hparams *hp)
{
    const int32_t most = 1 << 20;
    if (hp->arch->has & HYB_HAS_SHORTCONV) hp->n_taps = hyb_key_int(keys, "shortconv.l_cache", 2, HYB_TAPS_MAX, 0);
    if (hp->arch->mixer != HYB_PART_TIME_MIX) return;
    hp->wkv_head_size = hyb_key_int(keys, "wkv.head_size", 1, HYB_WKV_SIZE_MAX, 0);
    if (hp->n_embd % hp->wkv_head_size) hyb_key_fail(keys, "wkv.head_size", "does not divide the embedding length");
    hp->n_decay = hyb_key_int(keys, "attention.decay_lora_rank", 1, most, 0);
    hp->n_rate = hyb_key_int(keys, "attention.iclr_lora_rank", 1, most, 0);
    hp->n_value_mix = hyb_key_int(keys, "attention.value_residual_mix_lora_rank", 1, most, 0);
    hp->n_gate = hyb_key_int(keys, "attention.gate_lora_rank", 0, most, 0);
    if (hp->arch->ffn == HYB_PART_CHANNEL_MIX)
        hyb_key_must(keys, "token_shift_count", 2, 2, "another number of shifted tokens");
    else
        hyb_key_must(keys, "token_shift_count", 1, 1, "another number of shifted tokens");
}

/* A layer has experts when it has the tensor that chooses them. */
static bool hyb_layer_has_experts(const hyb_keys *keys, int layer)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
    return hybrid_gguf_find_tensor(keys->gguf, name) != NULL;
}

static void hyb_read_layer(hyb_keys *keys, hyb_hparams *hp, int i)
{
    const bool attends = hp->arch->mixer == HYB_PART_ATTENTION, convolves = (hp->arch->has & HYB_HAS_SHORTCONV) != 0;
    hyb_layer_hp *l = &hp->layers[i];
    l->mixer = hp->arch->mixer;
    l->ffn = hp->arch->ffn == HYB_PART_FFN && hyb_layer_has_experts(keys, i) ? HYB_PART_EXPERTS : hp->arch->ffn;
    l->n_ff = hyb_key_int_of(keys, "feed_forward_length", i, hp->n_layer, 1, 1 << 24, 0);
    l->n_head = hyb_key_int_of(keys, "attention.head_count", i, hp->n_layer, attends, 4096, 0);
    l->n_head_kv =
        hyb_key_int_of(keys, "attention.head_count_kv", i, hp->n_layer, attends && !convolves, 4096, l->n_head);
    if (convolves && !l->n_head_kv) l->mixer = HYB_PART_SHORTCONV;
    if (l->mixer == HYB_PART_ATTENTION && l->n_head % l->n_head_kv)
        hyb_key_fail(keys, "attention.head_count", "is not a multiple of head_count_kv");
    if (l->mixer != HYB_PART_ATTENTION) l->n_head_kv = 0;
    hp->n_ff = HYB_MAX(hp->n_ff, l->n_ff);
    hp->n_head = HYB_MAX(hp->n_head, l->n_head);
    hp->n_head_kv = HYB_MAX(hp->n_head_kv, l->n_head_kv);
}

static void hyb_read_all(hyb_keys *keys, hyb_hparams *hp, hybrid_runtime *rt)
{
    const bool layer_norm = hp->arch->norm == HYB_NORM_LAYER;
    int i;
    hp->n_embd = hyb_key_int(keys, "embedding_length", 1, 1 << 24, 0);
    hp->n_layer = hyb_key_int(keys, "block_count", 1, 4096, 0);
    hp->n_ctx_train = hyb_key_int(keys, "context_length", 1, INT32_MAX, 0);
    hyb_key_must(keys, "embedding_length_out", hp->n_embd, 0, "an output of another width");
    if (keys->failure.result) return;
    if (!(hp->layers = (hyb_layer_hp *)hyb_calloc(rt, (size_t)hp->n_layer, sizeof *hp->layers))) {
        hyb_fail_memory(&keys->failure, (size_t)hp->n_layer * sizeof *hp->layers);
        return;
    }
    for (i = 0; i < hp->n_layer && !keys->failure.result; i++) hyb_read_layer(keys, hp, i);
    hyb_read_recurrent(keys, hp);
    if (keys->failure.result) return;
    hp->norm_eps = layer_norm ? hyb_key_positive(keys, "attention.layer_norm_epsilon", 1e-5f)
                              : hyb_key_positive(keys, "attention.layer_norm_rms_epsilon", NAN);
    if (hp->n_head_kv) hyb_read_attention(keys, hp);
    hyb_read_window(keys, hp);
    if (hp->n_head_kv && !(hp->arch->has & HYB_HAS_POS_EMBD)) hyb_read_rope(keys, hp);
    hyb_read_experts(keys, hp);
    hp->pooling = hyb_key_int(keys, "pooling_type", -1, 255, -1);
    if (hp->arch->has & HYB_HAS_BOTH_WAYS)
        hyb_key_must(keys, "attention.causal", 0, 0, "an encoder that looks at earlier tokens only");
    hp->logit_softcap = hyb_key_positive(keys, "final_logit_softcapping", hp->arch->logit_softcap);
    hp->embd_scale = hp->arch->has & HYB_HAS_SCALED_EMBD ? sqrtf((float)hp->n_embd) : 1;
}

/* What a file is that is not a language model, for the kinds that people come across. NULL: it may be a language
 * model. */
static const char *hyb_file_is(const hybrid_gguf *gguf, hybrid_string architecture)
{
    static const char *const pictures[] = { "flux",  "sd1",     "sd3",        "sdxl", "wan",     "ltxv",
                                            "hyvid", "lumina2", "qwen_image", "aura", "hidream", "cosmos" };
    hybrid_string type = { NULL, 0 };
    size_t i;
    hybrid_gguf_get_string(gguf, "general.type", &type);
    if (hyb_string_is(type, "adapter") || hybrid_gguf_find(gguf, "adapter.type", NULL) ||
        hybrid_gguf_find(gguf, "adapter.lora.alpha", NULL))
        return "an adapter (LoRA): load the model that it belongs to, and then this by hybrid_adapter_load";
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
    char text[64], names[256];
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
    hyb_arch_names(false, names, sizeof names);
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "architecture '%s' is not supported (supported: %s)",
                    hyb_printable(name, text), names);
}

static void hyb_hparams_free(hybrid_runtime *rt, hyb_hparams *hp) { hyb_free(rt, hp->layers); }

/* Reads and checks everything but n_vocab, which is a matter of tensors. Sizes are bounded so that products of two fit
 * 63 bits. Whatever comes back, hyb_hparams_free ends it. */
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
    if (!(keys.seen = (unsigned char *)hyb_calloc(rt, n, 1))) return hyb_fail_memory(error, n);
    hyb_read_all(&keys, hp, rt);
    if (!keys.failure.result) hyb_keys_finish(&keys, rt);
    hyb_free(rt, keys.seen);
    return hyb_kept(&keys.failure, error);
}
#endif
