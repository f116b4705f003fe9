/* train/bpe_trainer: the public call: checks what is asked for, counts words, merges, makes the tokenizer. */
#ifndef HYB_TRAIN_BPE_TRAINER_C
#define HYB_TRAIN_BPE_TRAINER_C
#include "../api/bpe_trainer.h"
#include "../text/tokenizer/export.c"
#include "bpe.c"

#define HYB_BPE_COUNTING 0.75f /* of the work that progress tells of */

typedef struct hyb_bpe_job {
    const hybrid_bpe_desc *desc;
    hyb_budget memory;
    const hyb_pretokenizer *pre;
    hybrid_string *specials;
    size_t n_specials, vocab_size;
    hyb_speller speller;
    uint8_t bytes[256]; /* in the order of their ids: by their spelling, as GPT-2's */
    hyb_documents documents;
    hyb_words words;
    hyb_learner bpe;
} hyb_bpe_job;

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

/* NULL, or what is wrong with a name. */
static const char *hyb_bpe_bad_special(const char *name, uint8_t *room)
{
    const size_t size = strlen(name);
    const char *p = name;
    int16_t to_byte[324];
    hybrid_string s;
    uint32_t code;
    size_t n;
    if (size < 2) return "it has less than two bytes";
    while ((n = hyb_utf8_read(p, name + size, &code)) != 0) p += n;
    if (p != name + size) return "it is not UTF-8";
    s.data = name;
    s.size = size;
    hyb_byte_spelling(to_byte);
    n = hyb_spelled_bytes(s, to_byte, room);
    return n == SIZE_MAX || (n == size && !memcmp(room, name, size)) ? NULL
                                                                     : "vocabularies spell other bytes like that";
}

static hybrid_result hyb_bpe_check_special(hyb_bpe_job *job, const char *const *names, size_t i, hybrid_error *error)
{
    const char *wrong = NULL;
    char text[64];
    uint8_t *room;
    size_t k;
    if (!names[i]) return hyb_fail(error, HYBRID_ERROR_INVALID, "special token %llu is NULL", (unsigned long long)i);
    job->specials[i].data = names[i];
    job->specials[i].size = strlen(names[i]);
    if (!(room = (uint8_t *)hyb_alloc(job->memory.rt, job->specials[i].size)))
        return hyb_fail_memory(error, job->specials[i].size);
    wrong = hyb_bpe_bad_special(names[i], room);
    hyb_free(job->memory.rt, room);
    for (k = 0; k < i && !wrong; k++)
        if (!strcmp(names[k], names[i])) wrong = "it is given twice";
    return !wrong ? HYBRID_OK
                  : hyb_fail(error, HYBRID_ERROR_INVALID, "special token %llu, '%s': %s", (unsigned long long)i,
                             hyb_printable(job->specials[i], text), wrong);
}

/* A role's name must be one of the special tokens. */
static hybrid_result hyb_bpe_check_role(const hyb_bpe_job *job, const char *role, const char *name, hybrid_error *error)
{
    size_t i;
    if (!name) return HYBRID_OK;
    for (i = 0; i < job->n_specials; i++)
        if (!strcmp(job->specials[i].data, name)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID, "%s is '%.64s', which is not one of the special tokens", role, name);
}

static hybrid_result hyb_bpe_specials(hyb_bpe_job *job, hybrid_error *error)
{
    static const char *const usual[1] = { "<|endoftext|>" };
    const hybrid_bpe_desc *desc = job->desc;
    const char *const *names = desc->specials ? desc->specials : usual;
    hybrid_result r = HYBRID_OK;
    size_t i;
    if (desc->n_specials && !desc->specials)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_bpe_train: n_specials is not 0, but specials is NULL");
    job->n_specials = desc->specials ? desc->n_specials : 1;
    if (job->n_specials > INT32_MAX / 4)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "%llu special tokens are too many",
                        (unsigned long long)job->n_specials);
    job->specials = (hybrid_string *)hyb_calloc(job->memory.rt, job->n_specials, sizeof *job->specials);
    if (!job->specials) return hyb_fail_memory(error, job->n_specials * sizeof *job->specials);
    for (i = 0; i < job->n_specials && !r; i++) r = hyb_bpe_check_special(job, names, i, error);
    if (!r) r = hyb_bpe_check_role(job, "bos", desc->bos, error);
    return r ? r : hyb_bpe_check_role(job, "eos", desc->eos, error);
}

/* ---- the vocabulary ---------------------------------------------------------------------------------------------- */

/* The bytes of a token that is not a special one, spelled; returns what lies after them. */
static char *hyb_bpe_spell(const hyb_bpe_job *job, uint32_t token, char *out)
{
    const uint32_t first = job->bpe.n_first;
    if (token < first) return hyb_spell(&job->speller, &job->bytes[token - (first - 256)], 1, out);
    return hyb_spell(&job->speller, hyb_learn_bytes(&job->bpe, token), job->bpe.tokens[token].size, out);
}

static size_t hyb_bpe_spelled_size(const hyb_bpe_job *job, uint32_t token)
{
    const uint32_t first = job->bpe.n_first;
    if (token < first) return hyb_spelled_size(&job->speller, &job->bytes[token - (first - 256)], 1);
    return hyb_spelled_size(&job->speller, hyb_learn_bytes(&job->bpe, token), job->bpe.tokens[token].size);
}

/* How much text the tokens and merges are. false: more than a vocabulary can hold. */
static bool hyb_bpe_text_size(const hyb_bpe_job *job, uint64_t *size)
{
    const hyb_learner *b = &job->bpe;
    uint64_t n = 0;
    size_t i;
    for (i = job->n_specials; i < b->n_tokens && n <= INT32_MAX; i++) n += hyb_bpe_spelled_size(job, (uint32_t)i);
    for (i = b->n_first; i < b->n_tokens && n <= INT32_MAX; i++)
        n += hyb_bpe_spelled_size(job, b->merges[i - b->n_first].left) +
             hyb_bpe_spelled_size(job, b->merges[i - b->n_first].right) + 1;
    *size = n;
    return n <= INT32_MAX;
}

/* Fills lists of tokens, and of merges after them. */
static void hyb_bpe_spell_all(const hyb_bpe_job *job, hybrid_string *list, uint8_t *types, char *out)
{
    const hyb_learner *b = &job->bpe;
    size_t i;
    for (i = 0; i < b->n_tokens; i++) {
        list[i].data = out;
        types[i] = (uint8_t)(i < job->n_specials ? HYBRID_TOKEN_CONTROL : HYBRID_TOKEN_NORMAL);
        if (i < job->n_specials)
            list[i] = job->specials[i];
        else
            out = hyb_bpe_spell(job, (uint32_t)i, out);
        if (i >= job->n_specials) list[i].size = (size_t)(out - list[i].data);
    }
    for (i = b->n_first; i < b->n_tokens; i++) {
        hybrid_string *merge = &list[b->n_tokens + i - b->n_first];
        merge->data = out;
        out = hyb_bpe_spell(job, b->merges[i - b->n_first].left, out);
        *out++ = ' ';
        out = hyb_bpe_spell(job, b->merges[i - b->n_first].right, out);
        merge->size = (size_t)(out - merge->data);
    }
}

static hybrid_result hyb_bpe_make_tokenizer(hyb_bpe_job *job, hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    const hyb_learner *b = &job->bpe;
    const size_t n_merges = b->n_tokens - b->n_first, n = b->n_tokens + n_merges;
    const char *first = job->n_specials ? job->specials[0].data : NULL;
    hybrid_tokenizer_desc desc;
    hybrid_string *list;
    hybrid_result r;
    uint64_t text;
    size_t bytes;
    uint8_t *types;
    if (!hyb_bpe_text_size(job, &text) || !hyb_mul_size(n, sizeof *list + 1, &bytes) ||
        !hyb_add_size(bytes, (size_t)text, &bytes))
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "the tokens are more than 2 GiB of text: set max_token_bytes or a higher min_frequency");
    if (!(list = (hybrid_string *)hyb_budget_alloc(&job->memory, bytes)))
        return hyb_budget_fail(&job->memory, "making the vocabulary", error);
    types = (uint8_t *)(list + n);
    hyb_bpe_spell_all(job, list, types, (char *)types + n);
    memset(&desc, 0, sizeof desc);
    desc.pre = job->pre->name;
    desc.tokens = list;
    desc.n_tokens = b->n_tokens;
    desc.types = types;
    desc.merges = list + b->n_tokens;
    desc.n_merges = n_merges;
    desc.add_bos = job->desc->add_bos;
    desc.roles[HYBRID_ROLE_BOS] = job->desc->bos ? job->desc->bos : first;
    desc.roles[HYBRID_ROLE_EOS] = job->desc->eos ? job->desc->eos : first;
    r = hybrid_tokenizer_create(job->memory.rt, &desc, tokenizer, error);
    hyb_budget_free(&job->memory, list, bytes);
    return r;
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_bpe_check(hyb_bpe_job *job, hybrid_error *error)
{
    const hybrid_bpe_desc *desc = job->desc;
    const int32_t size = desc->vocab_size ? desc->vocab_size : 8192;
    hybrid_result r;
    if (!desc->texts || !desc->n_texts)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_bpe_train: there are no texts");
    if ((unsigned)desc->ties > HYBRID_BPE_TIES_IDS)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_bpe_train: there is no rule for ties %d", (int)desc->ties);
    if (!(job->pre = hyb_find_pretokenizer(desc->pre, desc->pre ? strlen(desc->pre) : 0)))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "pre-tokenizer \"%.32s\" is not known to this version of hybrid", desc->pre);
    if ((r = hyb_bpe_specials(job, error)) != HYBRID_OK) return r;
    if (size < (int32_t)job->n_specials + 256)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "a vocabulary of %ld tokens has no room for %llu special ones and the 256 bytes", (long)size,
                        (unsigned long long)job->n_specials);
    if (size > INT32_MAX / 2)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "a vocabulary of %ld tokens is too large", (long)size);
    job->vocab_size = (size_t)size;
    return HYBRID_OK;
}

static hybrid_result hyb_bpe_count(hyb_bpe_job *job, hybrid_error *error)
{
    const hybrid_bpe_desc *desc = job->desc;
    hybrid_result r = hyb_documents_make(&job->documents, &job->memory, desc->texts, desc->n_texts, job->specials,
                                         job->n_specials, error);
    if (r) return r;
    job->words.memory = &job->memory;
    job->words.documents = &job->documents;
    job->words.progress = desc->progress;
    job->words.user = desc->user;
    job->words.share = HYB_BPE_COUNTING;
    return hyb_words_count(&job->words, &job->documents, job->pre, error);
}

static hybrid_result hyb_bpe_merge(hyb_bpe_job *job, hybrid_error *error)
{
    const hybrid_bpe_desc *desc = job->desc;
    hyb_learner *b = &job->bpe;
    hybrid_result r;
    b->memory = &job->memory;
    b->words = &job->words;
    b->by_ids = desc->ties == HYBRID_BPE_TIES_IDS;
    b->least = desc->min_frequency ? desc->min_frequency : 1;
    b->longest =
        desc->max_token_bytes && desc->max_token_bytes < UINT32_MAX ? (uint32_t)desc->max_token_bytes : UINT32_MAX;
    b->n_first = (uint32_t)job->n_specials + 256;
    b->progress = desc->progress;
    b->user = desc->user;
    b->from = HYB_BPE_COUNTING;
    r = hyb_learn_begin(b, job->vocab_size, job->bytes, error);
    return r ? r : hyb_learn_run(b, error);
}

static void hyb_bpe_job_free(hyb_bpe_job *job)
{
    hyb_documents_free(&job->documents);
    if (job->words.memory) hyb_words_free(&job->words);
    if (job->bpe.memory) hyb_learn_free(&job->bpe);
    hyb_free(job->memory.rt, job->specials);
}

static hybrid_result hyb_bpe_work(hyb_bpe_job *job, hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    int16_t to_byte[324];
    size_t i, n = 0;
    hybrid_result r;
    job->documents.sources = job->desc->texts; /* from here on their readers are closed at the end */
    job->documents.n_sources = job->desc->texts ? job->desc->n_texts : 0;
    if ((r = hyb_bpe_check(job, error)) != HYBRID_OK) return r;
    hyb_speller_make(&job->speller);
    hyb_byte_spelling(to_byte);
    for (i = 0; i < 324; i++)
        if (to_byte[i] >= 0) job->bytes[n++] = (uint8_t)to_byte[i];
    if ((r = hyb_bpe_count(job, error)) != HYBRID_OK || (r = hyb_bpe_merge(job, error)) != HYBRID_OK) return r;
    if (!hyb_report(job->desc->progress, job->desc->user, 1))
        return hyb_fail(error, HYBRID_ERROR_CANCELLED, "training a tokenizer was cancelled");
    return hyb_bpe_make_tokenizer(job, tokenizer, error);
}

static void hyb_bpe_describe(const hyb_bpe_job *job, hybrid_bpe_info *info)
{
    memset(info, 0, sizeof *info);
    info->n_documents = job->words.n_documents;
    info->n_bytes = job->words.n_bytes;
    info->n_words = job->words.total;
    info->n_different = job->words.n;
    info->n_tokens = (int32_t)job->bpe.n_tokens;
    info->n_merges = (int32_t)(job->bpe.n_tokens - job->bpe.n_first);
    info->last_frequency = job->bpe.last_count;
    info->peak_bytes = job->memory.peak;
}

HYB_BORDER(hybrid_result, hybrid_bpe_train,
           (hybrid_runtime *runtime, const hybrid_bpe_desc *desc, hybrid_tokenizer **tokenizer, hybrid_bpe_info *info,
            hybrid_error *error),
           (runtime, desc, tokenizer, info, error))
{
    hybrid_runtime *rt;
    hyb_bpe_job *job;
    hybrid_result r;
    if (tokenizer) *tokenizer = NULL;
    if (info) memset(info, 0, sizeof *info);
    if (!desc || !tokenizer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_bpe_train: desc or tokenizer is NULL");
    if ((r = hyb_runtime_retain(runtime, &rt, error)) != HYBRID_OK) {
        hyb_sources_close(desc->texts, desc->texts ? desc->n_texts : 0);
        return r;
    }
    if (!(job = (hyb_bpe_job *)hyb_calloc(rt, 1, sizeof *job))) {
        hyb_sources_close(desc->texts, desc->texts ? desc->n_texts : 0);
        r = hyb_fail_memory(error, sizeof *job);
    } else {
        job->desc = desc;
        job->memory.rt = rt;
        job->memory.most = desc->max_bytes;
        r = hyb_bpe_work(job, tokenizer, error);
        if (!r && info) hyb_bpe_describe(job, info);
        hyb_bpe_job_free(job);
    }
    hyb_free(rt, job);
    hyb_runtime_release(rt);
    return r;
}
#endif
