/* text/tokenizer_gguf: the tokenizer that a model file carries, in the keys tokenizer.ggml.*. */

static bool hybrid__vocab_gguf_flag(const hybrid_gguf *g, const char *key, bool value)
{
    int64_t v;
    return hybrid_gguf_get_i64(g, key, &v) ? v != 0 : value;
}

typedef struct hybrid__role_key {
    const char       *key;
    hybrid_token_role role;
} hybrid__role_key;

/* Ids of special tokens; one that is no token (files write -1 as unsigned) leaves what was there. */
static void hybrid__vocab_gguf_roles(const hybrid_gguf *g, size_t n_tokens, int32_t roles[HYBRID_ROLE_COUNT_])
{
    static const hybrid__role_key keys[] = {
        { "tokenizer.ggml.prefix_token_id", HYBRID_ROLE_FIM_PREFIX },    /* the older names first: the newer ones count */
        { "tokenizer.ggml.suffix_token_id", HYBRID_ROLE_FIM_SUFFIX },
        { "tokenizer.ggml.middle_token_id", HYBRID_ROLE_FIM_MIDDLE },
        { "tokenizer.ggml.bos_token_id", HYBRID_ROLE_BOS },
        { "tokenizer.ggml.eos_token_id", HYBRID_ROLE_EOS },
        { "tokenizer.ggml.eot_token_id", HYBRID_ROLE_EOT },
        { "tokenizer.ggml.eom_token_id", HYBRID_ROLE_EOM },
        { "tokenizer.ggml.unknown_token_id", HYBRID_ROLE_UNKNOWN },
        { "tokenizer.ggml.seperator_token_id", HYBRID_ROLE_SEPARATOR },  /* spelled so in the format */
        { "tokenizer.ggml.padding_token_id", HYBRID_ROLE_PADDING },
        { "tokenizer.ggml.mask_token_id", HYBRID_ROLE_MASK },
        { "tokenizer.ggml.fim_pre_token_id", HYBRID_ROLE_FIM_PREFIX },
        { "tokenizer.ggml.fim_suf_token_id", HYBRID_ROLE_FIM_SUFFIX },
        { "tokenizer.ggml.fim_mid_token_id", HYBRID_ROLE_FIM_MIDDLE },
        { "tokenizer.ggml.fim_pad_token_id", HYBRID_ROLE_FIM_PAD },
        { "tokenizer.ggml.fim_rep_token_id", HYBRID_ROLE_FIM_REPO },
        { "tokenizer.ggml.fim_sep_token_id", HYBRID_ROLE_FIM_SEPARATOR }
    };
    size_t i;
    int64_t id;
    for (i = 0; i < HYBRID__COUNT(keys); i++)
        if (hybrid_gguf_get_i64(g, keys[i].key, &id) && id >= 0 && (uint64_t)id < n_tokens) roles[keys[i].role] = (int32_t)id;
}

static hybrid_result hybrid__vocab_gguf_model(const hybrid_gguf *g, hybrid__vocab_source *source, hybrid_error *error)
{
    hybrid_string model = { NULL, 0 }, pre = { NULL, 0 }, architecture = { NULL, 0 };
    int i;
    if (!hybrid_gguf_get_string(g, "tokenizer.ggml.model", &model)) return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "the file has no key tokenizer.ggml.model: it carries no vocabulary");
    hybrid_gguf_get_string(g, "tokenizer.ggml.pre", &pre);
    hybrid_gguf_get_string(g, "general.architecture", &architecture);
    for (i = 0; i < HYBRID_ROLE_COUNT_; i++) source->roles[i] = -1;
    if (hybrid__string_is(model, "llama")) {
        source->spm = source->add_bos = source->add_space = true;
        source->strip_right = hybrid__string_is(architecture, "phi3");
        source->roles[HYBRID_ROLE_UNKNOWN] = 0;
        source->roles[HYBRID_ROLE_BOS] = 1;
        source->roles[HYBRID_ROLE_EOS] = 2;
        return HYBRID_OK;
    }
    if (!hybrid__string_is(model, "gpt2"))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer.ggml.model is \"%.*s\"; hybrid has gpt2 (byte-level BPE) and llama (SentencePiece BPE)",
                            (int)HYBRID__MIN(model.size, 32), model.data);
    if (!(source->pre = hybrid__find_pretokenizer(pre.data, pre.size)))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer.ggml.pre is \"%.*s\", which is not known to this version of hybrid", (int)HYBRID__MIN(pre.size, 32), pre.data);
    source->add_bos = source->pre->add_bos;
    return HYBRID_OK;
}

/* Tables of the file; *types (n_tokens) is allocated. Everything must be as long as the list of tokens. */
static hybrid_result hybrid__vocab_gguf_tables(const hybrid_gguf *g, hybrid_runtime *rt, hybrid__vocab_source *source, hybrid_gguf_value *tokens,
                                         hybrid_gguf_value *merges, uint8_t **types, hybrid_error *error)
{
    hybrid_gguf_value v;
    size_t i;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.tokens", tokens)) return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "the file has no key tokenizer.ggml.tokens: it carries no vocabulary");
    if (tokens->type != HYBRID_GGUF_ARRAY || tokens->item_type != HYBRID_GGUF_STRING || !tokens->count || tokens->count > INT32_MAX / 2)
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.tokens is not a list of strings");
    source->tokens.array = tokens;
    source->tokens.count = (size_t)tokens->count;
    if (hybrid_gguf_find(g, "tokenizer.ggml.scores", &v)) {
        if (v.item_type != HYBRID_GGUF_F32 || v.count != tokens->count) return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.scores is not one f32 for each token");
        source->scores = v.data;
    }
    if (hybrid_gguf_find(g, "tokenizer.ggml.token_type", &v)) {
        if (v.count != tokens->count) return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.token_type has %llu items, there are %llu tokens",
                                                          (unsigned long long)v.count, (unsigned long long)tokens->count);
        if (!(*types = (uint8_t *)hybrid__alloc(rt, source->tokens.count))) return hybrid__fail_memory(error, source->tokens.count);
        for (i = 0; i < source->tokens.count; i++) {
            int64_t type = hybrid_gguf_item_i64(&v, i);
            (*types)[i] = (uint8_t)(type >= 1 && type <= 6 ? type : (int64_t)HYBRID_TOKEN_UNUSED);
        }
        source->types = *types;
    }
    if (source->spm) return HYBRID_OK;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.merges", merges) || merges->type != HYBRID_GGUF_ARRAY || (merges->item_type != HYBRID_GGUF_STRING && merges->count))
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.merges is not there or not a list of strings");
    source->merges.array = merges;
    source->merges.count = merges->count > INT32_MAX / 2 ? INT32_MAX : (size_t)merges->count;
    return HYBRID_OK;
}

HYBRID__BORDER(hybrid_result, hybrid_tokenizer_from_gguf, (hybrid_runtime *runtime, const hybrid_gguf *gguf,
              hybrid_tokenizer **tokenizer, hybrid_error *error), (runtime, gguf, tokenizer, error))
{
    hybrid__vocab_source source;
    hybrid_gguf_value tokens, merges;
    uint8_t *types = NULL;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!tokenizer) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: tokenizer is NULL");
    *tokenizer = NULL;
    if (!gguf) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: gguf is NULL");
    memset(&source, 0, sizeof source);
    if ((r = hybrid__vocab_gguf_model(gguf, &source, error)) != HYBRID_OK) return r;
    if ((r = hybrid__runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if ((r = hybrid__vocab_gguf_tables(gguf, rt, &source, &tokens, &merges, &types, error)) == HYBRID_OK) {
        hybrid__vocab_gguf_roles(gguf, source.tokens.count, source.roles);
        source.add_bos = hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_bos_token", source.add_bos);
        source.add_eos = hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_eos_token", source.add_eos);
        source.add_space = source.spm && hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_space_prefix", source.add_space);
        r = hybrid__tokenizer_make(rt, &source, tokenizer, error);
    }
    hybrid__free(rt, types);
    hybrid__runtime_release(rt);
    return r;
}
