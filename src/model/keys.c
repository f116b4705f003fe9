/* model/keys: the keys "<architecture>.<suffix>" of a model, read so that none can be overlooked.
 *
 * A key that is asked for is marked. Keys that nobody asked for are looked up in two tables: harmless ones, which
 * change no logits, and ones of other families, which have a value at which they change nothing. Whatever else is there
 * is refused by its name when it belongs to a group of keys that shape the computation, and logged when it does not.
 * The first thing that is wrong is kept in `failure`. */
#ifndef HYB_MODEL_KEYS_C
#define HYB_MODEL_KEYS_C
#include "../gguf/open.c"

typedef struct hyb_keys {
    const hybrid_gguf *gguf;
    const char *arch;
    unsigned char *seen; /* of every key of the file: somebody asked for it */
    hybrid_error failure; /* the first */
} hyb_keys;

enum { HYB_KEY_ROOM = 128 }; /* for the name of a key that we ask for */

static void hyb_key_fail(hyb_keys *keys, const char *suffix, const char *what)
{
    hyb_keep(&keys->failure, HYBRID_ERROR_FORMAT, "the model's key '%s.%s' %s", keys->arch, suffix, what);
}

static bool hyb_key_find(const hyb_keys *keys, const char *suffix, hybrid_gguf_value *value)
{
    char key[HYB_KEY_ROOM];
    size_t i;
    snprintf(key, sizeof key, "%s.%s", keys->arch, suffix);
    i = hyb_names_find(&keys->gguf->key_names, hyb_string(key));
    if (i == HYB_NO_NAME) return false;
    if (keys->seen) keys->seen[i] = 1;
    return hybrid_gguf_find(keys->gguf, key, value);
}

static bool hyb_key_was_asked(const hyb_keys *keys, const char *suffix)
{
    char key[HYB_KEY_ROOM];
    size_t i;
    snprintf(key, sizeof key, "%s.%s", keys->arch, suffix);
    i = hyb_names_find(&keys->gguf->key_names, hyb_string(key));
    return i != HYB_NO_NAME && keys->seen[i];
}

/* Item i of a value as an integer; a bool does not count as one. */
static bool hyb_key_item(const hybrid_gguf_value *value, uint64_t i, int64_t *v)
{
    const unsigned char *p = value->item_type == HYBRID_GGUF_BOOL ? NULL : hyb_gguf_number_at(value, i);
    return p && hyb_gguf_load_i64(value->item_type, p, v);
}

/* An integer in lo..hi for layer `layer` of n_layer, or `fallback` when absent (fallback below lo: required). An array
 * holds a number for each layer, or the same number any number of times. */
static int32_t hyb_key_int_of(hyb_keys *keys, const char *suffix, int layer, int n_layer, int64_t lo, int64_t hi,
                              int64_t fallback)
{
    hybrid_gguf_value value;
    int64_t v = 0, other = 0;
    uint64_t i;
    if (!hyb_key_find(keys, suffix, &value)) {
        if (fallback < lo) hyb_key_fail(keys, suffix, "is missing");
        return (int32_t)HYB_MAX(fallback, lo);
    }
    if (!hyb_key_item(&value, 0, &v)) {
        hyb_key_fail(keys, suffix,
                     value.type == HYBRID_GGUF_ARRAY ? "is not an array of integers" : "is not an integer");
        return (int32_t)lo;
    }
    for (i = 1; i < value.count && hyb_key_item(&value, i, &other) && other == v; i++) {}
    if (i < value.count && n_layer == 1)
        hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
                 "the model's key '%s.%s' differs from layer to layer, which is not supported", keys->arch, suffix);
    if (i < value.count && n_layer > 1 &&
        (value.count < (uint64_t)n_layer || !hyb_key_item(&value, (uint64_t)layer, &v)))
        hyb_key_fail(keys, suffix, "has no integer for each layer");
    if (v >= lo && v <= hi) return (int32_t)v;
    hyb_keep(&keys->failure, HYBRID_ERROR_FORMAT, "the model's key '%s.%s' is %lld, must be %lld..%lld", keys->arch,
             suffix, (long long)v, (long long)lo, (long long)hi);
    return (int32_t)lo;
}

/* The same for all layers. */
static int32_t hyb_key_int(hyb_keys *keys, const char *suffix, int64_t lo, int64_t hi, int64_t fallback)
{
    return hyb_key_int_of(keys, suffix, 0, 1, lo, hi, fallback);
}

/* A bool, or 0 or 1; or fallback when absent. */
static bool hyb_key_bool(hyb_keys *keys, const char *suffix, bool fallback)
{
    hybrid_gguf_value value;
    int64_t v = 0;
    if (!hyb_key_find(keys, suffix, &value)) return fallback;
    if (value.type == HYBRID_GGUF_BOOL) return hybrid_gguf_item_i64(&value, 0) != 0;
    if (value.type == HYBRID_GGUF_ARRAY || !hyb_key_item(&value, 0, &v) || v < 0 || v > 1)
        hyb_key_fail(keys, suffix, "is neither true nor false");
    return v != 0;
}

/* A finite number, or fallback when absent (NAN: required). */
static float hyb_key_float(hyb_keys *keys, const char *suffix, float fallback)
{
    hybrid_gguf_value value;
    double v = 0;
    if (!hyb_key_find(keys, suffix, &value)) {
        if (fallback != fallback) hyb_key_fail(keys, suffix, "is missing");
        return fallback;
    }
    if (value.type == HYBRID_GGUF_ARRAY || value.type == HYBRID_GGUF_STRING || value.type == HYBRID_GGUF_BOOL) {
        hyb_key_fail(keys, suffix, "is not a number");
        return 0;
    }
    v = hybrid_gguf_item_f64(&value, 0);
    if (v > -3e38 && v < 3e38) return (float)v;
    hyb_key_fail(keys, suffix, "is not a finite number");
    return 0;
}

/* The same for a factor, which is never negative. */
static float hyb_key_positive(hyb_keys *keys, const char *suffix, float fallback)
{
    const float v = hyb_key_float(keys, suffix, fallback);
    if (!(v >= 0)) hyb_key_fail(keys, suffix, "is negative");
    return v;
}

static bool hyb_key_string(hyb_keys *keys, const char *suffix, hybrid_string *text)
{
    hybrid_gguf_value value;
    if (!hyb_key_find(keys, suffix, &value)) return false;
    if (value.type != HYBRID_GGUF_STRING) {
        hyb_key_fail(keys, suffix, "is not a string");
        return false;
    }
    *text = hybrid_gguf_item_string(&value, 0);
    return true;
}

/* A key that may be there with the value a or b (each item of an array), at which it changes nothing; any other is
 * refused: `what` says why. */
static void hyb_key_must(hyb_keys *keys, const char *suffix, double a, double b, const char *what)
{
    hybrid_gguf_value value;
    uint64_t i;
    if (!hyb_key_find(keys, suffix, &value) || keys->failure.result) return;
    if (value.item_type == HYBRID_GGUF_STRING || value.item_type == HYBRID_GGUF_ARRAY) {
        hyb_key_fail(keys, suffix, "is not a number");
        return;
    }
    for (i = 0; i < value.count && !keys->failure.result; i++) {
        const double v = hybrid_gguf_item_f64(&value, i);
        if (v != a && v != b)
            hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
                     "the model's key '%s.%s' is %g, which hybrid does not compute for this "
                     "architecture: %s",
                     keys->arch, suffix, v, what);
    }
}

/* ---- keys that none of our families asks for ---- */

/* Which type a value has: a harmless key is still checked, since one of another type shows that the file means
 * something else. */
typedef enum hyb_key_class { HYB_KEY_ANY, HYB_KEY_NUMBER, HYB_KEY_STRING } hyb_key_class;

typedef struct hyb_key_harmless {
    const char *suffix;
    hyb_key_class type;
    const char *reason;
} hyb_key_harmless;
static const hyb_key_harmless hyb_keys_harmless[] = {
    { "vocab_size", HYB_KEY_NUMBER, "the rows of token_embd.weight are counted" },
    { "tensor_data_layout", HYB_KEY_STRING, "a converter's note" },
    { "rope.scaling.finetuned", HYB_KEY_NUMBER, "says how the model was trained" },
    { "attention.layer_norm_epsilon", HYB_KEY_NUMBER, "of a kind of norm that the family does not have" },
    { "attention.layer_norm_rms_epsilon", HYB_KEY_NUMBER, "of a kind of norm that the family does not have" },
    { "classifier.output_labels", HYB_KEY_ANY, "names of classes; classifiers are refused" },
};

/* Parts of models that see or hear: text is computed without them. */
static const char *const hyb_keys_harmless_groups[] = { "vision.", "mm.", "audio.", "clip.", "projector." };

typedef struct hyb_key_neutral {
    const char *suffix;
    double a, b;
    const char *what;
} hyb_key_neutral;
static const hyb_key_neutral hyb_keys_neutral[] = {
    { "use_sliding_window", 0, 0, "windows" },
    { "use_parallel_residual", 0, 0, "attention and feed-forward side by side" },
    { "logit_scale", 0, 1, "a factor of the logits" },
    { "residual_scale", 0, 1, "a factor of what each block adds" },
    { "embedding_scale", 0, 1, "a factor of the embeddings" },
    { "router_logit_softcapping", 0, 0, "a cap on the scores of experts" },
    { "leading_dense_block_count", 0, 0, "layers without experts before those with them" },
    { "moe_every_n_layers", 0, 1, "experts in some layers only" },
    { "interleave_moe_layer_step", 0, 1, "experts in some layers only" },
    { "moe_latent_size", 0, 0, "experts in a space of their own" },
    { "experts_per_group", 0, 0, "experts in groups" },
    { "expert_group_count", 0, 1, "experts in groups" },
    { "expert_group_used_count", 0, 1, "experts in groups" },
    { "expert_group_scale", 0, 1, "experts in groups" },
    { "expert_chunk_feed_forward_length", 0, 0, "experts in chunks" },
    { "nextn_predict_layers", 0, 0, "layers that predict several tokens" },
    { "n_deepstack_layers", 0, 0, "layers that take images" },
    { "features_length", 0, 0, "an input that is not text" },
    { "full_attention_interval", 0, 1, "layers without attention" },
    { "activation_sparsity_scale", 0, 0, "sparse activations" },
    { "altup.active_idx", 0, 0, "alternating updates" },
    { "altup.num_inputs", 0, 1, "alternating updates" },
    { "embedding_length_per_layer_input", 0, 0, "embeddings for each layer" },
    { "swiglu_clamp_exp", 0, 0, "clamped activations" },
    { "swiglu_clamp_shexp", 0, 0, "clamped activations" },
    { "swin_norm", 0, 0, "norms after the blocks" },
    { "rescale_every_n_layers", 0, 0, "rescaled layers" },
    { "time_mix_extra_dim", 0, 0, "a recurrent model" },
    { "time_decay_extra_dim", 0, 0, "a recurrent model" },
    { "token_shift_count", 0, 0, "a recurrent model" },
    { "wkv.head_size", 0, 0, "a recurrent model" },
    { "ssm.conv_kernel", 0, 0, "a state space model" },
    { "ssm.inner_size", 0, 0, "a state space model" },
    { "ssm.state_size", 0, 0, "a state space model" },
    { "ssm.time_step_rank", 0, 0, "a state space model" },
    { "ssm.group_count", 0, 0, "a state space model" },
    { "ssm.dt_b_c_rms", 0, 0, "a state space model" },
    { "kda.head_dim", 0, 0, "a recurrent model" },
    { "shortconv.l_cache", 0, 0, "short convolutions" },
    { "decoder_block_count", 0, 0, "an encoder and a decoder" },
    { "attention.causal", 1, 1, "attention to later tokens" },
    { "attention.max_alibi_bias", 0, 0, "ALiBi" },
    { "attention.clamp_kqv", 0, 0, "clamped queries, keys and values" },
    { "attention.output_scale", 0, 1, "a factor of attention's output" },
    { "attention.value_scale", 0, 1, "a factor of values" },
    { "attention.temperature_length", 0, 0, "attention that cools with the position" },
    { "attention.temperature_scale", 0, 0, "attention that cools with the position" },
    { "attention.q_lora_rank", 0, 0, "compressed queries" },
    { "attention.kv_lora_rank", 0, 0, "compressed keys and values" },
    { "attention.decay_lora_rank", 0, 0, "a recurrent model" },
    { "attention.iclr_lora_rank", 0, 0, "a recurrent model" },
    { "attention.value_residual_mix_lora_rank", 0, 0, "a recurrent model" },
    { "attention.gate_lora_rank", 0, 0, "a recurrent model" },
    { "attention.output_lora_rank", 0, 0, "a compressed output" },
    { "attention.output_group_count", 0, 1, "an output in groups" },
    { "attention.relative_buckets_count", 0, 0, "relative positions" },
    { "attention.key_length_mla", 0, 0, "compressed keys and values" },
    { "attention.value_length_mla", 0, 0, "compressed keys and values" },
    { "attention.shared_kv_layers", 0, 0, "layers that share a cache" },
    { "attention.indexer.head_count", 0, 0, "a choice of the positions that are looked at" },
    { "attention.indexer.key_length", 0, 0, "a choice of the positions that are looked at" },
    { "attention.indexer.top_k", 0, 0, "a choice of the positions that are looked at" },
    { "attention.group_norm_groups", 0, 0, "norms of groups" },
    { "rope.dimension_sections", 0, 0, "positions of several dimensions" },
    { "rope.scaling.alpha", 0, 1, "another stretching of positions" },
    { "rope.scaling.yarn_log_multiplier", 0, 0, "another scale of YaRN" },
    { "rope.scaling.yarn_attn_factor", 1, 1, "another scale of YaRN" },
};

/* A key with one of these words counts as one that shapes the computation. */
static const char *const hyb_keys_shaping_groups[] = { "attention",    "attn",
                                                       "rope",         "expert",
                                                       "moe",          "router",
                                                       "ssm.",         "wkv.",
                                                       "time_",        "altup",
                                                       "shortconv",    "laurel",
                                                       "indexer",      "embedding_",
                                                       "logit",        "final_",
                                                       "residual",     "activation",
                                                       "hidden_act",   "swi",
                                                       "norm",         "kda.",
                                                       "mamba",        "token_shift",
                                                       "feed_forward", "hyper_connection",
                                                       "posnet.",      "convnext." };
static const char *const hyb_keys_shaping_words[] = { "scale",     "scaling", "softcap", "clamp",      "window",
                                                      "lora_rank", "_norm",   "norm_",   "multiplier", "epsilon" };

static bool hyb_string_begins(hybrid_string s, const char *text)
{
    const size_t n = strlen(text);
    return s.size >= n && !memcmp(s.data, text, n);
}

static bool hyb_string_holds(hybrid_string s, const char *text)
{
    for (; s.size; s.data++, s.size--)
        if (hyb_string_begins(s, text)) return true;
    return false;
}

static bool hyb_key_shapes(hybrid_string suffix)
{
    size_t i;
    for (i = 0; i < HYB_COUNT(hyb_keys_shaping_groups); i++)
        if (hyb_string_begins(suffix, hyb_keys_shaping_groups[i])) return true;
    for (i = 0; i < HYB_COUNT(hyb_keys_shaping_words); i++)
        if (hyb_string_holds(suffix, hyb_keys_shaping_words[i])) return true;
    return false;
}

static void hyb_key_harmless_check(hyb_keys *keys, const hyb_key_harmless *rule)
{
    hybrid_gguf_value value;
    if (!hyb_key_find(keys, rule->suffix, &value)) return;
    if (rule->type == HYB_KEY_STRING && value.type != HYBRID_GGUF_STRING)
        hyb_key_fail(keys, rule->suffix, "is not a string");
    if (rule->type == HYB_KEY_NUMBER && !hyb_gguf_number_size(value.item_type))
        hyb_key_fail(keys, rule->suffix, "is not a number");
}

/* Keys of this architecture that nobody asked for, once everything else was read. */
static void hyb_keys_finish(hyb_keys *keys, hybrid_runtime *rt)
{
    const size_t n = strlen(keys->arch);
    char text[64];
    size_t i, k;
    for (i = 0; i < HYB_COUNT(hyb_keys_neutral); i++)
        if (!hyb_key_was_asked(keys, hyb_keys_neutral[i].suffix))
            hyb_key_must(keys, hyb_keys_neutral[i].suffix, hyb_keys_neutral[i].a, hyb_keys_neutral[i].b,
                         hyb_keys_neutral[i].what);
    for (i = 0; i < HYB_COUNT(hyb_keys_harmless); i++) hyb_key_harmless_check(keys, &hyb_keys_harmless[i]);
    for (i = 0; i < hybrid_gguf_key_count(keys->gguf) && !keys->failure.result; i++) {
        const hybrid_string name = hybrid_gguf_key(keys->gguf, i, NULL);
        hybrid_string suffix;
        if (keys->seen[i] || name.size <= n || memcmp(name.data, keys->arch, n) || name.data[n] != '.') continue;
        suffix.data = name.data + n + 1;
        suffix.size = HYB_MIN(name.size - n - 1, (size_t)64);
        for (k = 0; k < HYB_COUNT(hyb_keys_harmless_groups); k++)
            if (hyb_string_begins(suffix, hyb_keys_harmless_groups[k])) break;
        if (k < HYB_COUNT(hyb_keys_harmless_groups)) continue;
        hyb_printable(name, text);
        if (hyb_key_shapes(suffix))
            hyb_keep(&keys->failure, HYBRID_ERROR_UNSUPPORTED,
                     "hybrid does not know the model's key '%s' for this architecture, and "
                     "keys of its kind change what a model computes",
                     text);
        else
            hyb_log(rt, HYBRID_LOG_WARN, "hybrid does not know the model's key '%s'; it is taken for a note",
                    text);
    }
}
#endif
