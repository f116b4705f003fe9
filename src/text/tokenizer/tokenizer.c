/* text/tokenizer/tokenizer: making tokenizers, text to ids, ids to text. */
#ifndef HYB_TEXT_TOKENIZER_TOKENIZER_C
#define HYB_TEXT_TOKENIZER_TOKENIZER_C
#include "normalize.c"
#include "families.c"
#include "special.c"
#include "greedy.c"
#include "wordpiece.c"

/* ---- making ------------------------------------------------------------------------------------------------------ */

static hybrid_result hyb_tokenizer_build(hybrid_tokenizer *t, const hyb_vocab_source *source, hybrid_error *error)
{
    hybrid_result r;
    int i;
    t->spm = source->spm;
    t->raw = source->raw;
    t->greedy = source->greedy;
    t->wordpiece = source->wordpiece;
    t->add_bos = source->add_bos;
    t->add_eos = source->add_eos;
    t->add_space = source->add_space;
    t->pre = source->pre;
    t->whole_words = source->raw || (source->pre && source->pre->whole_words);
    t->n_tokens = source->tokens.count;
    memcpy(t->roles, source->roles, sizeof t->roles);
    for (i = 0; i < 256; i++) t->byte_ids[i] = -1;
    if (!t->n_tokens) return hyb_fail(error, HYBRID_ERROR_INVALID, "the vocabulary has no tokens");
    if (t->n_tokens > INT32_MAX / 2 || source->merges.count > INT32_MAX / 2)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "the vocabulary has more than a billion entries");
    if ((r = hyb_vocab_read_tokens(t, source, error)) != HYBRID_OK ||
        (r = hyb_vocab_make_index(t, error)) != HYBRID_OK ||
        (r = hyb_vocab_make_specials(t, source->strip_right, error)) != HYBRID_OK)
        return r;
    if (t->greedy) return hyb_vocab_make_words(t, error);
    if (t->wordpiece && t->roles[HYBRID_ROLE_UNKNOWN] < 0)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the vocabulary (WordPiece) does not say which token stands for unknown words "
                        "(tokenizer.ggml.unknown_token_id)");
    if (t->wordpiece) return HYBRID_OK;
    hyb_vocab_find_bytes(t);
    if (t->spm || t->raw) {
        if ((r = hyb_vocab_make_ranks(t, source->scores, error)) != HYBRID_OK) return r;
    } else if ((r = hyb_vocab_make_merges(t, source, error)) != HYBRID_OK)
        return r;
    if ((r = hyb_vocab_make_joined(t, error)) != HYBRID_OK || t->spm) return r;
    if (!(t->classes = (uint8_t *)hyb_alloc(t->rt, 65536))) return hyb_fail_memory(error, 65536);
    hyb_unicode_expand(t->classes);
    if (!t->pre->nfc || t->raw) return HYBRID_OK;
    t->nfc = (uint8_t *)hyb_alloc(t->rt, HYB_NFC_BITS);
    if (!t->nfc) return hyb_fail_memory(error, HYB_NFC_BITS);
    hyb_nfc_expand(t->nfc);
    return HYBRID_OK;
}

static hybrid_result hyb_tokenizer_make(hybrid_runtime *runtime, const hyb_vocab_source *source,
                                        hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_tokenizer *t;
    hybrid_result r = hyb_runtime_retain(runtime, &rt, error);
    if (r != HYBRID_OK) return r;
    if (!(t = (hybrid_tokenizer *)hyb_calloc(rt, 1, sizeof *t))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *t);
    }
    t->rt = rt;
    if ((r = hyb_tokenizer_build(t, source, error)) != HYBRID_OK)
        hyb_vocab_destroy(t);
    else
        *tokenizer = t;
    return r;
}

HYB_BORDER_VOID(hybrid_tokenizer_destroy, (hybrid_tokenizer * tokenizer), (tokenizer))
{
    if (tokenizer) hyb_vocab_destroy(tokenizer);
}

/* The token of a role by the text that the caller gave; these are looked up here because ids are all that the tables
 * know. */
static hybrid_result hyb_desc_roles(const hybrid_tokenizer_desc *desc, int32_t roles[HYBRID_ROLE_COUNT_],
                                    hybrid_error *error)
{
    static const char *const usual[3][4] = { { "<s>", "<bos>", "<|begin_of_text|>", NULL },
                                             { "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>" },
                                             { "<unk>", NULL, NULL, NULL } };
    static const hybrid_token_role usual_role[3] = { HYBRID_ROLE_BOS, HYBRID_ROLE_EOS, HYBRID_ROLE_UNKNOWN };
    size_t i, k;
    int role;
    for (role = 0; role < HYBRID_ROLE_COUNT_; role++) roles[role] = -1;
    for (i = 0; i < desc->n_tokens; i++) {
        const hybrid_string s = desc->tokens[i];
        if (!s.size || !s.data) continue;
        for (role = 0; role < HYBRID_ROLE_COUNT_; role++)
            if (desc->roles[role] && strlen(desc->roles[role]) == s.size && !memcmp(desc->roles[role], s.data, s.size))
                roles[role] = (int32_t)i;
        if (*s.data != '<') continue;
        for (role = 0; role < 3; role++)
            for (k = 0; k < 4 && usual[role][k]; k++)
                if (!desc->roles[usual_role[role]] && roles[usual_role[role]] < 0 && strlen(usual[role][k]) == s.size &&
                    !memcmp(usual[role][k], s.data, s.size))
                    roles[usual_role[role]] = (int32_t)i;
    }
    for (role = 0; role < HYBRID_ROLE_COUNT_; role++)
        if (desc->roles[role] && roles[role] < 0)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "roles[%d] is \"%.64s\", which is not a token of the vocabulary", role, desc->roles[role]);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_tokenizer_create,
           (hybrid_runtime * runtime, const hybrid_tokenizer_desc *desc, hybrid_tokenizer **tokenizer,
            hybrid_error *error),
           (runtime, desc, tokenizer, error))
{
    hyb_vocab_source source;
    hybrid_result r;
    if (!tokenizer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_create: tokenizer is NULL");
    *tokenizer = NULL;
    if (!desc || !desc->tokens || (desc->n_merges && !desc->merges))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_tokenizer_create: desc, its tokens or its merges are NULL");
    memset(&source, 0, sizeof source);
    if (desc->model && !strcmp(desc->model, "spm"))
        source.spm = true;
    else if (desc->model && !strcmp(desc->model, "rwkv"))
        source.greedy = true;
    else if (desc->model && strcmp(desc->model, "bpe"))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer model \"%.32s\" is none of bpe, spm, rwkv",
                        desc->model);
    if (!source.spm && !source.greedy &&
        !(source.pre = hyb_find_pretokenizer(desc->pre, desc->pre ? strlen(desc->pre) : 0)))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "pre-tokenizer \"%.32s\" is not known to this version of hybrid", desc->pre);
    source.raw = !source.spm && !source.greedy && desc->raw_tokens;
    source.tokens.list = desc->tokens;
    source.tokens.count = desc->n_tokens;
    source.merges.list = desc->merges;
    source.merges.count = source.raw ? 0 : desc->n_merges;
    source.types = desc->types;
    source.scores = desc->scores;
    source.add_bos = desc->add_bos;
    source.add_eos = desc->add_eos;
    source.add_space = source.spm && !desc->no_space_prefix;
    source.strip_right = desc->strip_right;
    if ((r = hyb_desc_roles(desc, source.roles, error)) != HYBRID_OK) return r;
    return hyb_tokenizer_make(runtime, &source, tokenizer, error);
}

/* ---- text to ids ------------------------------------------------------------------------------------------------- */

/* Cuts a piece as the pre-tokenizer's splits say, from the given one on, and tokenizes the words. */
static void hyb_tokenize_piece(hyb_tokenize_job *job, const hyb_split_fn *split, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *classes = job->t->classes, *q;
    if (split[1]) {
        for (; p < end; p = q) {
            q = split[0](classes, p, end);
            hyb_tokenize_piece(job, split + 1, p, q);
        }
    } else
        for (; p < end; p = q) {
            q = split[0](classes, p, end);
            hyb_tokenize_word(job, p, (size_t)(q - p));
        }
}

/* spm knows no words; the places where nothing can merge make some that come again. */
static void hyb_tokenize_joined(hyb_tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    for (; p < end; p = q) {
        q = hyb_next_cut(job->t, p, end);
        hyb_tokenize_word(job, p, (size_t)(q - p));
    }
}

static bool hyb_has_escaped_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (p = (const uint8_t *)memchr(p, 0xE2, (size_t)(end - p))) != NULL) {
        if (end - p >= 3 && p[1] == 0x96 && p[2] == 0x81) return true;
        p++;
    }
    return false;
}

/* Text of byte-level BPE; that of some families in normalization form C. Special tokens were found in it as it stands,
 * as Hugging Face finds those that are not "normalized", as all of these families are. */
static void hyb_tokenize_normal(hyb_tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    const hybrid_tokenizer *t = job->t;
    const uint8_t *before = job->end;
    hyb_nfc_text text = { NULL, 0, 0 };
    if (t->nfc && !hyb_nfc(t->rt, t->nfc, p, (size_t)(end - p), &text)) {
        job->out_of_memory = true;
        return;
    }
    if (text.bytes) {
        p = text.bytes;
        end = p + text.n;
        job->end = end + HYB_NFC_AFTER;
    }
    hyb_tokenize_piece(job, t->pre->splits, p, end);
    job->end = before;
    hyb_free(t->rt, text.bytes);
}

/* Text between special tokens. */
static void hyb_tokenize_fragment(hyb_tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    const hybrid_tokenizer *t = job->t;
    const uint8_t *before = job->end;
    size_t size = (size_t)(end - p), bytes;
    uint8_t *copy;
    const bool space = t->add_space;
    if (p == end) return;
    if (t->greedy) {
        hyb_tokenize_greedy(job, p, end);
        return;
    }
    if (t->wordpiece) {
        hyb_tokenize_wordpiece(job, p, end);
        return;
    }
    if (!t->spm) {
        hyb_tokenize_normal(job, p, end);
        return;
    }
    if (!space && !hyb_has_escaped_space(p, end)) {
        hyb_tokenize_joined(job, p, end);
        return;
    }
    if (!hyb_add_size(size, 1 + 8 * HYB_CACHE_TEXT, &bytes) || !(copy = (uint8_t *)hyb_alloc(t->rt, bytes))) {
        job->out_of_memory = true;
        return;
    }
    memset(copy + size, 0, 1 + 8 * HYB_CACHE_TEXT);
    copy[0] = ' ';
    size = hyb_unescape_spaces(p, size, copy + space) + space;
    job->end = copy + bytes;
    hyb_tokenize_joined(job, copy, copy + size);
    job->end = before;
    hyb_free(t->rt, copy);
}

/* The leftmost special token, there the longest, and what lies before it; and so on. */
static void hyb_tokenize_text(hyb_tokenize_job *job, const uint8_t *text, size_t size, const hyb_special_where *where)
{
    const hybrid_tokenizer *t = job->t;
    const uint8_t *p = text, *end = text + size;
    hyb_special_list list;
    size_t k;
    if (!hyb_special_find(t, text, size, where, &list)) job->out_of_memory = true;
    for (k = list.n; k-- > 0 && !job->out_of_memory;) {
        const uint8_t *q = text + list.items[k].at;
        const int32_t id = list.items[k].id;
        if (q < p) continue; /* inside of the one before */
        hyb_tokenize_fragment(job, p, q);
        hyb_emit_token(job, id);
        p = q + (t->offsets[id + 1] - t->offsets[id]);
        if (t->kinds[id] & HYB_TOKEN_STRIP)
            while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    }
    if (!job->out_of_memory) hyb_tokenize_fragment(job, p, end);
    hyb_special_list_free(t->rt, &list);
}

static hybrid_result hyb_tokenize(const hybrid_tokenizer *t, const char *text, size_t size,
                                  const hyb_special_where *where, unsigned flags, int32_t *ids, size_t capacity,
                                  size_t *n, hybrid_error *error)
{
    hyb_tokenize_job job;
    hyb_cached_word few[64];
    size_t words = HYB_COUNT(few);
    if (!text) text = "";
    memset(&job, 0, sizeof job);
    job.t = t;
    job.ids = ids;
    job.capacity = capacity;
    job.last = -1;
    job.end = (const uint8_t *)text + size;
    job.cache = few;
    if (size > 2048) {
        while (words < 32768 && words < size / 16) words *= 2;
        if (!(job.cache = (hyb_cached_word *)hyb_alloc_aligned(t->rt, words * sizeof *job.cache)))
            return hyb_fail_memory(error, words * sizeof *job.cache);
    }
    memset(job.cache, 0, words * sizeof *job.cache);
    job.cache_mask = words / 2 - 1;
    if (flags & HYBRID_TOKENIZE_ADD_SPECIAL && t->add_bos && t->roles[HYBRID_ROLE_BOS] >= 0)
        hyb_emit_token(&job, t->roles[HYBRID_ROLE_BOS]);
    hyb_tokenize_text(&job, (const uint8_t *)text, size, where);
    if (flags & HYBRID_TOKENIZE_ADD_SPECIAL && t->add_eos && t->roles[HYBRID_ROLE_EOS] >= 0)
        hyb_emit_token(&job, t->roles[HYBRID_ROLE_EOS]);
    if (job.cache != few) hyb_free_aligned(t->rt, job.cache);
    if (job.out_of_memory)
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory while tokenizing %llu bytes",
                        (unsigned long long)size);
    *n = job.n;
    if (job.n > capacity)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "the text has %llu tokens, there is room for %llu",
                        (unsigned long long)job.n, (unsigned long long)capacity);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_tokenize,
           (const hybrid_tokenizer *tokenizer, const char *text, size_t size, unsigned flags, int32_t *ids,
            size_t capacity, size_t *n, hybrid_error *error),
           (tokenizer, text, size, flags, ids, capacity, n, error))
{
    hyb_special_where where = { HYB_SPECIAL_TEXT, NULL, 0 };
    if (n) *n = 0;
    if (!tokenizer || (!text && size) || (!ids && capacity) || !n)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenize: tokenizer, text, ids or n is NULL");
    if (flags & HYBRID_TOKENIZE_PARSE_SPECIAL) where.which |= HYB_SPECIAL_CONTROL;
    return hyb_tokenize(tokenizer, text, size, &where, flags, ids, capacity, n, error);
}

HYB_BORDER(hybrid_result, hybrid_tokenize_spans,
           (const hybrid_tokenizer *tokenizer, const char *text, size_t size, const hybrid_span *spans, size_t n_spans,
            unsigned flags, int32_t *ids, size_t capacity, size_t *n, hybrid_error *error),
           (tokenizer, text, size, spans, n_spans, flags, ids, capacity, n, error))
{
    static const hybrid_span none = { 0, 0 };
    hyb_special_where where;
    size_t i, end = 0;
    if (n) *n = 0;
    if (!tokenizer || (!text && size) || (!spans && n_spans) || (!ids && capacity) || !n)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenize_spans: tokenizer, text, spans, ids or n is NULL");
    for (i = 0; i < n_spans; end = spans[i++].end)
        if (spans[i].begin < end || spans[i].end <= spans[i].begin || spans[i].end > size)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_tokenize_spans: spans[%llu] is empty, or lies outside of the text or before the "
                            "end of the one before",
                            (unsigned long long)i);
    where.which = HYB_SPECIAL_TEXT | HYB_SPECIAL_CONTROL;
    where.spans = spans ? spans : &none;
    where.n_spans = n_spans;
    return hyb_tokenize(tokenizer, text, size, &where, flags, ids, capacity, n, error);
}

/* ---- ids to text ------------------------------------------------------------------------------------------------- */

HYB_BORDER(hybrid_string, hybrid_token_bytes, (const hybrid_tokenizer *tokenizer, int32_t id), (tokenizer, id))
{
    hybrid_string s = { NULL, 0 };
    if (!tokenizer || id < 0 || (size_t)id >= tokenizer->n_tokens) return s;
    s.data = (const char *)tokenizer->bytes + tokenizer->offsets[id];
    s.size = tokenizer->offsets[id + 1] - tokenizer->offsets[id];
    return s;
}

HYB_BORDER(hybrid_token_type, hybrid_token_kind, (const hybrid_tokenizer *tokenizer, int32_t id), (tokenizer, id))
{
    if (!tokenizer || id < 0 || (size_t)id >= tokenizer->n_tokens) return HYBRID_TOKEN_UNUSED;
    return (hybrid_token_type)hyb_token_type(tokenizer, id);
}

HYB_BORDER(hybrid_result, hybrid_detokenize,
           (const hybrid_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, unsigned flags, char *text,
            size_t capacity, size_t *size, hybrid_error *error),
           (tokenizer, ids, n_ids, flags, text, capacity, size, error))
{
    size_t i, n = 0;
    bool space = tokenizer && tokenizer->add_space; /* the one that tokenizing put before the first word */
    if (size) *size = 0;
    if (!tokenizer || (!ids && n_ids) || (!text && capacity) || !size)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_detokenize: tokenizer, ids, text or size is NULL");
    for (i = 0; i < n_ids; i++)
        if (ids[i] < 0)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_detokenize: ids[%llu] is %ld", (unsigned long long)i,
                            (long)ids[i]);
    for (i = 0; i < n_ids; i++) {
        hybrid_token_type type = hybrid_token_kind(tokenizer, ids[i]);
        hybrid_string s = hybrid_token_bytes(tokenizer, ids[i]);
        if ((type == HYBRID_TOKEN_CONTROL || type == HYBRID_TOKEN_UNKNOWN) && !(flags & HYBRID_DETOKENIZE_SPECIAL))
            continue;
        if (space && s.size) {
            space = false;
            if (*s.data == ' ') {
                s.data++;
                s.size--;
            }
        }
        if (s.size && n < capacity) memcpy(text + n, s.data, HYB_MIN(s.size, capacity - n));
        n += s.size;
    }
    *size = n;
    if (n > capacity)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "the text has %llu bytes, there is room for %llu",
                        (unsigned long long)n, (unsigned long long)capacity);
    return HYBRID_OK;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

HYB_BORDER(bool, hybrid_token_is_end, (const hybrid_tokenizer *tokenizer, int32_t id), (tokenizer, id))
{
    return tokenizer && id >= 0 && (size_t)id < tokenizer->n_tokens && (tokenizer->kinds[id] & HYB_TOKEN_END);
}

HYB_BORDER(int32_t, hybrid_token_role_id, (const hybrid_tokenizer *tokenizer, hybrid_token_role role),
           (tokenizer, role))
{
    return tokenizer && (unsigned)role < HYBRID_ROLE_COUNT_ ? tokenizer->roles[role] : -1;
}

HYB_BORDER(int32_t, hybrid_token_find, (const hybrid_tokenizer *tokenizer, const char *bytes, size_t size),
           (tokenizer, bytes, size))
{
    int32_t id;
    if (!tokenizer || !bytes || !size) return -1;
    id = hyb_vocab_find(tokenizer, (const uint8_t *)bytes, size);
    return id < 0 && size == 1 ? tokenizer->byte_ids[(uint8_t)*bytes] : id;
}

HYBRID_API int32_t hybrid_vocab_size(const hybrid_tokenizer *tokenizer)
{
    return tokenizer ? (int32_t)tokenizer->n_tokens : 0;
}
HYBRID_API bool hybrid_tokenizer_adds_bos(const hybrid_tokenizer *tokenizer)
{
    return tokenizer && tokenizer->add_bos && tokenizer->roles[HYBRID_ROLE_BOS] >= 0;
}
HYBRID_API bool hybrid_tokenizer_adds_eos(const hybrid_tokenizer *tokenizer)
{
    return tokenizer && tokenizer->add_eos && tokenizer->roles[HYBRID_ROLE_EOS] >= 0;
}
#endif
