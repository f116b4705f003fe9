/* model/hparams: the table of architectures, and the numbers of one model, read from its GGUF keys.
 *
 * A family is a row of switches. What a file shows by having a tensor or not (biases, fused matrices, norms of q and k, norms after
 * a block, a tied head, experts in this layer or not) is not in the table: model/weights looks. */

typedef enum hybrid__window_kind {
    HYBRID__WINDOW_NONE,
    HYBRID__WINDOW_ALL,                 /* every layer, when the file gives a window */
    HYBRID__WINDOW_PATTERN              /* every layer but each `period`-th */
} hybrid__window_kind;

/* Mixtures of experts: what the weights of the chosen ones are. */
typedef enum hybrid__mixture {
    HYBRID__MIXTURE_NONE,               /* the family has no experts */
    HYBRID__MIXTURE_SHARES,             /* their shares of a softmax over all */
    HYBRID__MIXTURE_NORMED              /* made to sum to 1 */
} hybrid__mixture;

typedef struct hybrid__arch {
    const char         *name;           /* general.architecture */
    hybrid__norm_kind   norm;
    hybrid__rope_kind   rope;
    hybrid__act_kind    act;
    bool                learned_pos;    /* a table of positions instead of rope */
    bool                scale_embd;     /* embeddings times sqrt(n_embd) */
    hybrid__window_kind window;
    int                 window_period;
    float               local_rope_base;/* base of windowed layers; 0: the same as elsewhere */
    hybrid__mixture     mixture;
} hybrid__arch;

static const hybrid__arch hybrid__archs[] = {
    /* name       norm                rope                act                    pos    scale  window                   period base   mixture */
    { "llama",    HYBRID__NORM_RMS,   HYBRID__ROPE_NORM,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0,     HYBRID__MIXTURE_NORMED },     /* Mixtral, too */
    { "mistral",  HYBRID__NORM_RMS,   HYBRID__ROPE_NORM,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0,     HYBRID__MIXTURE_NONE },
    { "qwen2",    HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0,     HYBRID__MIXTURE_NONE },
    { "qwen2moe", HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0,     HYBRID__MIXTURE_SHARES },
    { "qwen3",    HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0,     HYBRID__MIXTURE_NONE },
    { "qwen3moe", HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0,     HYBRID__MIXTURE_NORMED },
    { "phi3",     HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0,     HYBRID__MIXTURE_NONE },
    { "gemma2",   HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_GELU_TANH, false, true,  HYBRID__WINDOW_PATTERN,  2, 0,     HYBRID__MIXTURE_NONE },
    { "gemma3",   HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_GELU_TANH, false, true,  HYBRID__WINDOW_PATTERN,  6, 10000, HYBRID__MIXTURE_NONE },
    { "gpt2",     HYBRID__NORM_LAYER, HYBRID__ROPE_NORM,  HYBRID__ACT_GELU_TANH, true,  false, HYBRID__WINDOW_NONE,     0, 0,     HYBRID__MIXTURE_NONE },
};

/* How positions are stretched beyond the context of training: see model/rope. */
typedef enum hybrid__rope_scaling { HYBRID__SCALING_NONE, HYBRID__SCALING_LINEAR, HYBRID__SCALING_YARN, HYBRID__SCALING_LONGROPE } hybrid__rope_scaling;

typedef struct hybrid__hparams {
    const hybrid__arch *arch;
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim_k, head_dim_v, n_ff;
    float   norm_eps;
    int32_t n_rot;
    float   rope_base, rope_base_local;
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

/* ---- keys of the form "<arch>.<suffix>"; the first thing that is wrong sticks in `result` ---- */

typedef struct hybrid__keys { const hybrid_gguf *gguf; const char *arch; hybrid_error *error; hybrid_result result; } hybrid__keys;

static void hybrid__key_fail(hybrid__keys *keys, const char *suffix, const char *what)
{
    if (keys->result) return;
    keys->result = hybrid__fail(keys->error, HYBRID_ERROR_FORMAT, "the model's key '%s.%s' %s", keys->arch, suffix, what);
}

static bool hybrid__key_find(const hybrid__keys *keys, const char *suffix, char key[128], hybrid_gguf_value *value)
{
    snprintf(key, 128, "%s.%s", keys->arch, suffix);
    return hybrid_gguf_find(keys->gguf, key, value);
}

/* An integer in lo..hi, or `fallback` when absent (fallback below lo: required). An array (a number for each layer) must hold one value. */
static int32_t hybrid__key_int(hybrid__keys *keys, const char *suffix, int64_t lo, int64_t hi, int64_t fallback)
{
    char key[128];
    hybrid_gguf_value value;
    int64_t v = 0;
    uint64_t i;
    if (!hybrid__key_find(keys, suffix, key, &value)) {
        if (fallback < lo) hybrid__key_fail(keys, suffix, "is missing");
        return (int32_t)HYBRID__MAX(fallback, lo);
    }
    if (value.type == HYBRID_GGUF_ARRAY) {
        v = value.count ? hybrid_gguf_item_i64(&value, 0) : lo - 1;
        for (i = 1; i < value.count && !keys->result; i++)
            if (hybrid_gguf_item_i64(&value, i) != v)
                keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "the model's key '%s' differs from layer to layer, which is not supported", key);
    } else if (!hybrid_gguf_get_i64(keys->gguf, key, &v)) {
        hybrid__key_fail(keys, suffix, "is not an integer");
        return (int32_t)lo;
    }
    if (v < lo || v > hi) {
        if (!keys->result) keys->result = hybrid__fail(keys->error, HYBRID_ERROR_FORMAT, "the model's key '%s' is %lld, must be %lld..%lld", key, (long long)v, (long long)lo, (long long)hi);
        return (int32_t)lo;
    }
    return (int32_t)v;
}

/* A finite number, or fallback when absent (NAN: required). */
static float hybrid__key_float(hybrid__keys *keys, const char *suffix, float fallback)
{
    char key[128];
    double v;
    hybrid_gguf_value value;
    if (!hybrid__key_find(keys, suffix, key, &value)) {
        if (fallback != fallback) hybrid__key_fail(keys, suffix, "is missing");
        return fallback;
    }
    if (!hybrid_gguf_get_f64(keys->gguf, key, &v) || !(v > -3e38 && v < 3e38)) {
        hybrid__key_fail(keys, suffix, "is not a finite number");
        return 0;
    }
    return (float)v;
}


static void hybrid__read_rope(hybrid__keys *keys, hybrid__hparams *hp)
{
    char key[128];
    hybrid_string scaling;
    hp->n_rot = hybrid__key_int(keys, "rope.dimension_count", 0, hp->head_dim_k, hp->head_dim_k);
    if (hp->n_rot % 2) hybrid__key_fail(keys, "rope.dimension_count", "is odd");
    hp->rope_base = hybrid__key_float(keys, "rope.freq_base", 10000);
    hp->rope_base_local = hybrid__key_float(keys, "rope.freq_base_swa", hp->arch->local_rope_base != 0 ? hp->arch->local_rope_base : hp->rope_base);
    if (!(hp->rope_base > 0) || !(hp->rope_base_local > 0)) hybrid__key_fail(keys, "rope.freq_base", "is not positive");
    hp->rope_factor = hybrid__key_float(keys, "rope.scaling.factor", hybrid__key_float(keys, "rope.scale_linear", 1));
    if (!(hp->rope_factor > 0)) hybrid__key_fail(keys, "rope.scaling.factor", "is not positive");
    hp->rope_attn_factor = hybrid__key_float(keys, "rope.scaling.attn_factor", 1);
    hp->yarn_beta_fast = hybrid__key_float(keys, "rope.scaling.yarn_beta_fast", 32);
    hp->yarn_beta_slow = hybrid__key_float(keys, "rope.scaling.yarn_beta_slow", 1);
    hp->n_ctx_orig = hybrid__key_int(keys, "rope.scaling.original_context_length", 1, INT32_MAX, hp->n_ctx_train);
    hp->rope_scaling = hp->rope_factor != 1 ? HYBRID__SCALING_LINEAR : HYBRID__SCALING_NONE;
    snprintf(key, sizeof key, "%s.rope.scaling.type", keys->arch);
    if (!hybrid_gguf_get_string(keys->gguf, key, &scaling)) {
        if (hybrid_gguf_find_tensor(keys->gguf, "rope_factors_long.weight")) hp->rope_scaling = HYBRID__SCALING_LONGROPE;
        return;
    }
    if (hybrid__string_is(scaling, "none")) hp->rope_scaling = HYBRID__SCALING_NONE;
    else if (hybrid__string_is(scaling, "linear")) hp->rope_scaling = HYBRID__SCALING_LINEAR;
    else if (hybrid__string_is(scaling, "yarn")) hp->rope_scaling = HYBRID__SCALING_YARN;
    else if (hybrid__string_is(scaling, "longrope")) hp->rope_scaling = HYBRID__SCALING_LONGROPE;
    else if (!keys->result)
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "rope scaling '%.*s' is not supported", (int)HYBRID__MIN(scaling.size, 32), scaling.data);
}

/* Newer files spell the pattern out: a number (every n-th layer sees everything) or a flag for each layer, which must be such a pattern. */
static void hybrid__read_window(hybrid__keys *keys, hybrid__hparams *hp)
{
    char key[128];
    hybrid_gguf_value value;
    uint64_t i;
    if (hp->arch->window == HYBRID__WINDOW_NONE) return;
    hp->window = hybrid__key_int(keys, "attention.sliding_window", 0, INT32_MAX, hp->arch->window == HYBRID__WINDOW_PATTERN ? 4096 : 0);
    hp->window_period = hp->arch->window_period;
    if (hp->arch->window != HYBRID__WINDOW_PATTERN || !hybrid__key_find(keys, "attention.sliding_window_pattern", key, &value)) return;
    if (value.type != HYBRID_GGUF_ARRAY) hp->window_period = hybrid__key_int(keys, "attention.sliding_window_pattern", 1, 1 << 20, 1);
    else for (i = 0; i < value.count && i < (uint64_t)hp->n_layer; i++)
        if ((hybrid_gguf_item_i64(&value, i) != 0) != ((i + 1) % (uint64_t)hp->window_period != 0) && !keys->result)
            keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "this pattern of sliding windows is not supported (layer %d)", (int)i);
}

/* How wide a matrix of the first layer is: what files say that have no key for it. */
static int64_t hybrid__first_width(const hybrid__keys *keys, const char *name, int64_t fallback)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(keys->gguf, name);
    return t ? (int64_t)HYBRID__MIN(t->ne[1], (uint64_t)1 << 24) : fallback;
}

static void hybrid__read_experts(hybrid__keys *keys, hybrid__hparams *hp)
{
    const int64_t most = 1 << 24;
    hp->n_expert = hybrid__key_int(keys, "expert_count", 0, HYBRID__EXPERTS_MAX, 0);
    if (!hp->n_expert || keys->result) return;
    if (hp->arch->mixture == HYBRID__MIXTURE_NONE) {
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "a mixture of %d experts of the architecture '%s' is not supported (supported: llama, as Mixtral, qwen2moe, qwen3moe)", hp->n_expert, keys->arch);
        return;
    }
    if (hp->n_expert == 1) hybrid__key_fail(keys, "expert_count", "is 1: a choice of one is none");
    hp->n_expert_used = hybrid__key_int(keys, "expert_used_count", 1, HYBRID__MIN(hp->n_expert, (int32_t)HYBRID__EXPERTS_USED_MAX), 0);
    hp->n_ff_expert = hybrid__key_int(keys, "expert_feed_forward_length", 1, most, hybrid__first_width(keys, "blk.0.ffn_up_exps.weight", hp->n_ff));
    hp->n_ff_shared = hybrid__key_int(keys, "expert_shared_feed_forward_length", 0, most, hybrid__first_width(keys, "blk.0.ffn_up_shexp.weight", 0));
    hp->expert_norm = hybrid__key_int(keys, "expert_weights_norm", 0, 1, hp->arch->mixture == HYBRID__MIXTURE_NORMED) != 0;
    hp->expert_scale = hybrid__key_float(keys, "expert_weights_scale", 1);
    if (hp->expert_scale == 0) hp->expert_scale = 1;   /* some files say "none" so */
    if (hybrid__key_int(keys, "expert_gating_func", 0, 255, 1) > 1 && !keys->result)
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "the model chooses its experts in another way than by softmax (key '%s.expert_gating_func'), which is not supported", keys->arch);
}

/* Reads and checks everything but n_vocab, which is a matter of tensors. Sizes are bounded so that products of two fit 63 bits. */
static hybrid_result hybrid__hparams_read(const hybrid_gguf *gguf, hybrid__hparams *hp, hybrid_error *error)
{
    const int64_t most = 1 << 24;
    hybrid_string name;
    hybrid__keys keys;
    size_t i;
    memset(hp, 0, sizeof *hp);
    if (!hybrid_gguf_get_string(gguf, "general.architecture", &name))
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "the file has no key 'general.architecture': it is not a model");
    for (i = 0; i < HYBRID__COUNT(hybrid__archs) && !hybrid__string_is(name, hybrid__archs[i].name); i++) {}
    if (i == HYBRID__COUNT(hybrid__archs))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "architecture '%.*s' is not supported (supported: llama, mistral, qwen2, qwen2moe, qwen3, qwen3moe, phi3, gemma2, gemma3, gpt2)",
                            (int)HYBRID__MIN(name.size, 40), name.data);
    hp->arch = &hybrid__archs[i];
    keys.gguf = gguf; keys.arch = hp->arch->name; keys.error = error; keys.result = HYBRID_OK;
    hp->n_embd = hybrid__key_int(&keys, "embedding_length", 1, most, 0);
    hp->n_layer = hybrid__key_int(&keys, "block_count", 1, 4096, 0);
    hp->n_ctx_train = hybrid__key_int(&keys, "context_length", 1, INT32_MAX, 0);
    hp->n_ff = hybrid__key_int(&keys, "feed_forward_length", 1, most, 0);
    hp->n_head = hybrid__key_int(&keys, "attention.head_count", 1, 4096, 0);
    hp->n_head_kv = hybrid__key_int(&keys, "attention.head_count_kv", 1, 4096, hp->n_head);
    if (hp->n_head % hp->n_head_kv) hybrid__key_fail(&keys, "attention.head_count", "is no multiple of head_count_kv");
    if (keys.result) return keys.result;
    hp->head_dim_k = hybrid__key_int(&keys, "attention.key_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->head_dim_v = hybrid__key_int(&keys, "attention.value_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->norm_eps = hp->arch->norm == HYBRID__NORM_LAYER ? hybrid__key_float(&keys, "attention.layer_norm_epsilon", 1e-5f)
                                                        : hybrid__key_float(&keys, "attention.layer_norm_rms_epsilon", NAN);
    if (!hp->arch->learned_pos) hybrid__read_rope(&keys, hp);
    hybrid__read_experts(&keys, hp);
    hybrid__read_window(&keys, hp);
    hp->attn_softcap = hybrid__key_float(&keys, "attn_logit_softcapping", 0);
    hp->logit_softcap = hybrid__key_float(&keys, "final_logit_softcapping", 0);
    hp->embd_scale = hp->arch->scale_embd ? sqrtf((float)hp->n_embd) : 1;
    hp->attn_scale = hybrid__key_float(&keys, "attention.scale", 0);
    if (hp->attn_scale == 0) hp->attn_scale = 1 / sqrtf((float)hp->head_dim_k);
    /* the 27B models of two families scale by the width of a head that they do not have; their files do not say so */
    if ((hp->n_layer == 46 && !strcmp(hp->arch->name, "gemma2")) || (hp->n_layer == 62 && !strcmp(hp->arch->name, "gemma3")))
        hp->attn_scale = 1 / sqrtf((float)hp->n_embd / (float)hp->n_head);
    return keys.result;
}
