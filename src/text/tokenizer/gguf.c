/* text/tokenizer/gguf: the tokenizer that a model file carries, in the keys tokenizer.ggml.*. What a file leaves out
 * is taken as llama.cpp takes it, and the log says so: a wrong guess shows in nothing but worse answers. */
#ifndef HYB_TEXT_TOKENIZER_GGUF_C
#define HYB_TEXT_TOKENIZER_GGUF_C
#include "tokenizer.c"

static bool hyb_vocab_gguf_flag(const hybrid_gguf *g, hybrid_runtime *rt, const char *key, bool value)
{
    int64_t v;
    if (hybrid_gguf_get_i64(g, key, &v)) return v != 0;
    hyb_log(rt, HYBRID_LOG_INFO, "tokenizer: the file has no %s: taken as %s", key, value ? "true" : "false");
    return value;
}

typedef struct hyb_role_key {
    const char *key;
    hybrid_token_role role;
} hyb_role_key;

/* Whether a file says which token this is: 0 unknown, 1 BOS, 2 EOS. */
static void hyb_vocab_gguf_absent(const hybrid_gguf *g, hybrid_runtime *rt, int which,
                                  const int32_t roles[HYBRID_ROLE_COUNT_])
{
    static const char *const keys[3] = { "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.bos_token_id",
                                         "tokenizer.ggml.eos_token_id" };
    static const hybrid_token_role role[3] = { HYBRID_ROLE_UNKNOWN, HYBRID_ROLE_BOS, HYBRID_ROLE_EOS };
    const int32_t id = roles[role[which]];
    int64_t said;
    if (hybrid_gguf_get_i64(g, keys[which], &said)) return;
    if (id >= 0)
        hyb_log(rt, HYBRID_LOG_INFO, "tokenizer: the file has no %s: token %d is taken, as is usual", keys[which],
                (int)id);
    else if (which)
        hyb_log(rt, HYBRID_LOG_INFO, "tokenizer: the file has no %s", keys[which]);
}

/* Ids of special tokens; one that is not a token (files write -1 as unsigned) leaves what was there. */
static void hyb_vocab_gguf_roles(const hybrid_gguf *g, hybrid_runtime *rt, size_t n_tokens,
                                 int32_t roles[HYBRID_ROLE_COUNT_])
{
    static const hyb_role_key keys[] = {
        { "tokenizer.ggml.prefix_token_id", HYBRID_ROLE_FIM_PREFIX }, /* the older names first: the newer ones count */
        { "tokenizer.ggml.suffix_token_id", HYBRID_ROLE_FIM_SUFFIX },
        { "tokenizer.ggml.middle_token_id", HYBRID_ROLE_FIM_MIDDLE },
        { "tokenizer.ggml.bos_token_id", HYBRID_ROLE_BOS },
        { "tokenizer.ggml.eos_token_id", HYBRID_ROLE_EOS },
        { "tokenizer.ggml.eot_token_id", HYBRID_ROLE_EOT },
        { "tokenizer.ggml.eom_token_id", HYBRID_ROLE_EOM },
        { "tokenizer.ggml.unknown_token_id", HYBRID_ROLE_UNKNOWN },
        { "tokenizer.ggml.seperator_token_id", HYBRID_ROLE_SEPARATOR }, /* spelled so in the format */
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
    for (i = 0; i < HYB_COUNT(keys); i++) {
        if (!hybrid_gguf_get_i64(g, keys[i].key, &id)) continue;
        if (id >= 0 && (uint64_t)id < n_tokens)
            roles[keys[i].role] = (int32_t)id;
        else if (id != -1 && id != UINT32_MAX)
            hyb_log(rt, HYBRID_LOG_WARN, "tokenizer: %s is %lld, there are %llu tokens: it is taken as not there",
                    keys[i].key, (long long)id, (unsigned long long)n_tokens);
    }
    for (i = 0; i < HYBRID_ROLE_COUNT_; i++)
        if (roles[i] >= 0 && (size_t)roles[i] >= n_tokens) roles[i] = -1;
    for (i = 0; i < 3; i++) hyb_vocab_gguf_absent(g, rt, (int)i, roles);
}

/* Names that llama.cpp knows and that need more than cutting words out of bytes; a sentence each. */
static const char *hyb_vocab_gguf_other_kind(hybrid_string pre)
{
    if (hyb_string_is(pre, "gemma4") || hyb_string_is(pre, "granite-embed-multi-311m") ||
        hyb_string_is(pre, "sarvam-moe"))
        return "whose merges are of characters, not of bytes";
    return hyb_string_is(pre, "whitespace") ? "whose words are tokens without merging" : NULL;
}

/* The family of a file that does not name it. Only where all models of an architecture are of one does that tell. */
static const char *hyb_vocab_gguf_guess(const hybrid_gguf *g)
{
    hybrid_string architecture = { NULL, 0 };
    hybrid_gguf_get_string(g, "general.architecture", &architecture);
    if (hyb_string_is(architecture, "gpt2")) return "gpt-2";
    return hyb_string_is(architecture, "gptneox") ? "olmo" : "default"; /* OLMo's tokenizer is GPT-NeoX's */
}

/* How byte-level BPE cuts words. */
static hybrid_result hyb_vocab_gguf_pre(const hybrid_gguf *g, hybrid_runtime *rt, hyb_vocab_source *source,
                                        hybrid_error *error)
{
    hybrid_string pre = { NULL, 0 };
    hybrid_gguf_value v;
    const char *kind;
    char text[64];
    if (hybrid_gguf_find(g, "tokenizer.ggml.pre", &v) && !hybrid_gguf_get_string(g, "tokenizer.ggml.pre", &pre))
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.pre is not a string");
    if (!pre.size) {
        pre.data = hyb_vocab_gguf_guess(g);
        pre.size = strlen(pre.data);
        hyb_log(rt, HYBRID_LOG_WARN,
                "tokenizer: the file does not say how its text is cut into words "
                "(tokenizer.ggml.pre): \"%s\" is taken, a guess that makes answers worse where it is wrong. "
                "Convert the model again with a recent converter, or write the name of its family: "
                "gguf-new-metadata --pre-tokenizer NAME IN OUT (of gguf-py)",
                pre.data);
    }
    source->pre = hyb_find_pretokenizer(pre.data, pre.size);
    if (source->pre) return HYBRID_OK;
    hyb_printable(pre, text);
    if ((kind = hyb_vocab_gguf_other_kind(pre)) != NULL)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "tokenizer.ggml.pre is \"%s\", a tokenizer %s: hybrid "
                        "does not have it",
                        text, kind);
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "tokenizer.ggml.pre is \"%s\", which is not known to this "
                    "version of hybrid",
                    text);
}

static hybrid_result hyb_vocab_gguf_model(const hybrid_gguf *g, hybrid_runtime *rt, hyb_vocab_source *source,
                                          hybrid_error *error)
{
    hybrid_string model = { NULL, 0 }, architecture = { NULL, 0 };
    hybrid_result r;
    char text[64];
    int i;
    if (!hybrid_gguf_get_string(g, "tokenizer.ggml.model", &model))
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "the file has no key tokenizer.ggml.model: it carries no "
                        "vocabulary");
    hybrid_gguf_get_string(g, "general.architecture", &architecture);
    for (i = 0; i < HYBRID_ROLE_COUNT_; i++) source->roles[i] = -1;
    if (hyb_string_is(model, "llama")) {
        source->spm = source->add_bos = source->add_space = true;
        source->strip_right = hyb_string_is(architecture, "phi3");
        source->roles[HYBRID_ROLE_UNKNOWN] = 0;
        source->roles[HYBRID_ROLE_BOS] = 1;
        source->roles[HYBRID_ROLE_EOS] = 2;
        return HYBRID_OK;
    }
    if (hyb_string_is(model, "rwkv")) {
        source->greedy = true;
        return HYBRID_OK;
    }
    if (hyb_string_is(model, "bert")) { /* the ids of BERT itself, as llama.cpp takes them */
        source->wordpiece = true;
        source->roles[HYBRID_ROLE_PADDING] = 0;
        source->roles[HYBRID_ROLE_UNKNOWN] = 100;
        source->roles[HYBRID_ROLE_BOS] = 101;
        source->roles[HYBRID_ROLE_SEPARATOR] = 102;
        source->roles[HYBRID_ROLE_MASK] = 103;
        return HYBRID_OK;
    }
    if (!hyb_string_is(model, "gpt2")) {
        hyb_printable(model, text);
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "tokenizer.ggml.model is \"%s\"; hybrid has gpt2 ("
                        "byte-level BPE), llama (SentencePiece BPE), bert (WordPiece) and rwkv",
                        text);
    }
    if ((r = hyb_vocab_gguf_pre(g, rt, source, error)) != HYBRID_OK) return r;
    source->add_bos = source->pre->add_bos;
    return HYBRID_OK;
}

/* Tables of the file; *types (n_tokens) is allocated. Everything must be as long as the list of tokens. */
static hybrid_result hyb_vocab_gguf_tables(const hybrid_gguf *g, hybrid_runtime *rt, hyb_vocab_source *source,
                                           hybrid_gguf_value *tokens, hybrid_gguf_value *merges, uint8_t **types,
                                           hybrid_error *error)
{
    hybrid_gguf_value v;
    size_t i;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.tokens", tokens))
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "the file has no key tokenizer.ggml.tokens: it carries no vocabulary");
    if (tokens->type != HYBRID_GGUF_ARRAY || tokens->item_type != HYBRID_GGUF_STRING || !tokens->count ||
        tokens->count > INT32_MAX / 2)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.tokens is not a list of strings");
    source->tokens.array = tokens;
    source->tokens.count = (size_t)tokens->count;
    if (hybrid_gguf_find(g, "tokenizer.ggml.scores", &v)) {
        if (v.item_type != HYBRID_GGUF_F32 || v.count != tokens->count)
            return hyb_fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.scores is not one f32 for each token");
        source->scores = v.data;
    } else if (source->spm)
        hyb_log(rt, HYBRID_LOG_WARN,
                "tokenizer: the file has no tokenizer.ggml.scores: pieces with lower ids are "
                "merged first");
    if (hybrid_gguf_find(g, "tokenizer.ggml.token_type", &v)) {
        if (v.count != tokens->count)
            return hyb_fail(error, HYBRID_ERROR_FORMAT,
                            "tokenizer.ggml.token_type has %llu items, there are %llu tokens",
                            (unsigned long long)v.count, (unsigned long long)tokens->count);
        if (!(*types = (uint8_t *)hyb_alloc(rt, source->tokens.count)))
            return hyb_fail_memory(error, source->tokens.count);
        for (i = 0; i < source->tokens.count; i++) {
            int64_t type = hybrid_gguf_item_i64(&v, i);
            (*types)[i] = (uint8_t)(type >= 1 && type <= 6 ? type : (int64_t)HYBRID_TOKEN_UNUSED);
        }
        source->types = *types;
    } else
        hyb_log(rt, HYBRID_LOG_WARN,
                "tokenizer: the file has no tokenizer.ggml.token_type: but for names that are "
                "known, no token is a control token");
    if (source->spm || source->greedy || source->wordpiece) return HYBRID_OK;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.merges", merges) || merges->type != HYBRID_GGUF_ARRAY ||
        (merges->item_type != HYBRID_GGUF_STRING && merges->count))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "tokenizer.ggml.merges is not there or not a list of strings: "
                        "without it no bytes can be joined to tokens");
    source->merges.array = merges;
    source->merges.count = merges->count > INT32_MAX / 2 ? INT32_MAX : (size_t)merges->count;
    return HYBRID_OK;
}

static void hyb_vocab_gguf_check_ends(const hybrid_tokenizer *t)
{
    size_t i;
    for (i = 0; i < t->n_tokens; i++)
        if (t->kinds[i] & HYB_TOKEN_END) return;
    hyb_log(t->rt, HYBRID_LOG_WARN,
            "tokenizer: no token ends an answer (the file has no "
            "tokenizer.ggml.eos_token_id, and no name is a known one)");
}

/* What tokens are added before and after a text. */
static void hyb_vocab_gguf_adds(const hybrid_gguf *g, hybrid_runtime *rt, hyb_vocab_source *source)
{
    source->add_bos = hyb_vocab_gguf_flag(g, rt, "tokenizer.ggml.add_bos_token", source->add_bos);
    source->add_eos = hyb_vocab_gguf_flag(g, rt, "tokenizer.ggml.add_eos_token", source->add_eos);
    source->add_space = source->spm && hyb_vocab_gguf_flag(g, rt, "tokenizer.ggml.add_space_prefix", source->add_space);
}

/* [CLS] a text [SEP], always. */
static void hyb_vocab_gguf_wordpiece(const hybrid_gguf *g, hyb_vocab_source *source)
{
    int64_t cls;
    if (hybrid_gguf_get_i64(g, "tokenizer.ggml.cls_token_id", &cls) && cls >= 0 && (uint64_t)cls < source->tokens.count)
        source->roles[HYBRID_ROLE_BOS] = (int32_t)cls;
    source->roles[HYBRID_ROLE_EOS] = source->roles[HYBRID_ROLE_SEPARATOR];
    source->add_bos = source->add_eos = source->add_space = true;
}

HYB_BORDER(hybrid_result, hybrid_tokenizer_from_gguf,
           (hybrid_runtime *runtime, const hybrid_gguf *gguf, hybrid_tokenizer **tokenizer, hybrid_error *error),
           (runtime, gguf, tokenizer, error))
{
    hyb_vocab_source source;
    hybrid_gguf_value tokens, merges;
    uint8_t *types = NULL;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!tokenizer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: tokenizer is NULL");
    *tokenizer = NULL;
    if (!gguf) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: gguf is NULL");
    memset(&source, 0, sizeof source);
    if ((r = hyb_runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if ((r = hyb_vocab_gguf_model(gguf, rt, &source, error)) == HYBRID_OK &&
        (r = hyb_vocab_gguf_tables(gguf, rt, &source, &tokens, &merges, &types, error)) == HYBRID_OK) {
        hyb_vocab_gguf_roles(gguf, rt, source.tokens.count, source.roles);
        if (source.wordpiece)
            hyb_vocab_gguf_wordpiece(gguf, &source);
        else
            hyb_vocab_gguf_adds(gguf, rt, &source);
        r = hyb_tokenizer_make(rt, &source, tokenizer, error);
        if (!r && !source.wordpiece) hyb_vocab_gguf_check_ends(*tokenizer);
    }
    hyb_free(rt, types);
    hyb_runtime_release(rt);
    return r;
}
#endif
