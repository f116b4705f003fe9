/* train/data: the public calls: texts, tokens and conversations become a corpus, and batches come out of it. */
#ifndef HYB_TRAIN_DATA_C
#define HYB_TRAIN_DATA_C
#include "../api/train_data.h"
#include "conversation.c"
#include "permute.c"

enum { HYB_DATA_N_CTX = 256 };

struct hybrid_data {
    hybrid_runtime *rt;
    hyb_corpus corpus;
    hybrid_data_info info;
    hybrid_data_position position;
    uint64_t seed;
    bool in_order;
    int32_t *scratch; /* n_ctx + 1 */
    uint64_t in_use;  /* a call is under way: a reader may not begin another */
};

typedef struct hyb_data_job {
    const hybrid_data_desc *desc;
    hybrid_data *data;
    int32_t eos, bos; /* -1: none; bos only where the tokenizer adds it */
    size_t n_taken;   /* sources whose readers the corpus or the documents close */
    float told;
} hyb_data_job;

static bool hyb_data_report(hyb_data_job *job, float fraction)
{
    if (fraction < job->told + 0.001f && fraction < 1) return true;
    job->told = fraction;
    return hyb_report(job->desc->progress, job->desc->user, fraction);
}

static hybrid_result hyb_data_cancelled(hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_CANCELLED, "reading the training data was cancelled");
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* Appends a document; *ended: the token before it is the one that ends documents. */
static hybrid_result hyb_data_document(hyb_data_job *job, const hyb_document *document, int32_t **ids, size_t *room,
                                       bool *ended, hybrid_error *error)
{
    const hybrid_data_desc *desc = job->desc;
    hyb_corpus *c = &job->data->corpus;
    const unsigned flags = desc->parse_special ? HYBRID_TOKENIZE_PARSE_SPECIAL : 0;
    size_t n = 0, first = c->n_tokens - (*ended && job->bos < 0);
    hybrid_result r = HYB_GROW(job->data->rt, *ids, *room, 0, document->size / 2 + 64, error);
    if (!r)
        r = hybrid_tokenize(desc->tokenizer, (const char *)document->text, document->size, flags, *ids, *room, &n,
                            error);
    if (r == HYBRID_ERROR_LIMIT && n > *room) { /* more tokens than there was room for */
        r = HYB_GROW(job->data->rt, *ids, *room, 0, n, error);
        if (!r)
            r = hybrid_tokenize(desc->tokenizer, (const char *)document->text, document->size, flags, *ids, *room, &n,
                                error);
    }
    if (r) return r;
    if ((job->bos >= 0 && !hyb_corpus_append(c, &job->bos, 1, false)) || !hyb_corpus_append(c, *ids, n, false) ||
        (job->eos >= 0 && !hyb_corpus_append(c, &job->eos, 1, false)) ||
        (c->n_tokens - first > 1 && !hyb_corpus_add_piece(c, 0, first, c->n_tokens - first)))
        return hyb_budget_fail(&c->memory, "keeping tokens", error);
    *ended = job->eos >= 0;
    return HYBRID_OK;
}

static hybrid_result hyb_data_texts(hyb_data_job *job, hybrid_error *error)
{
    const hybrid_data_desc *desc = job->desc;
    hyb_corpus *c = &job->data->corpus;
    const hybrid_string end = hybrid_token_bytes(desc->tokenizer, job->eos);
    hyb_documents documents;
    hyb_document document;
    hybrid_result r =
        hyb_documents_make(&documents, &c->memory, desc->sources, desc->n_sources, &end, end.size > 0, error);
    int32_t *ids = NULL;
    size_t room = 0;
    bool more = true, ended = false;
    job->n_taken = desc->n_sources;
    while (!r) {
        r = hyb_documents_next(&documents, &document, &more, error);
        if (r || !more) break;
        if (document.size) r = hyb_data_document(job, &document, &ids, &room, &ended, error);
        if (!r && !hyb_data_report(job, hyb_documents_fraction(&documents))) r = hyb_data_cancelled(error);
    }
    hyb_free(job->data->rt, ids);
    hyb_documents_free(&documents);
    return r;
}

/* ---- conversations ----------------------------------------------------------------------------------------------- */

/* A line that cannot be used: whether it is left out is the host's choice. */
static hybrid_result hyb_data_bad_line(hyb_data_job *job, size_t source, uint64_t line, const hybrid_error *why,
                                       hybrid_error *error)
{
    const hybrid_data_desc *desc = job->desc;
    bool skip = false;
    if (desc->bad_line) {
        skip = desc->bad_line(desc->user, source, line, why->message);
        hyb_fp_plain();
    }
    if (skip) {
        job->data->info.n_bad++;
        return HYBRID_OK;
    }
    return hyb_fail_at(error, why->result, line, "line %llu of source %llu: %.180s", (unsigned long long)line,
                       (unsigned long long)source, why->message);
}

static bool hyb_data_blank(const char *p, size_t n)
{
    while (n && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
        n--;
    }
    return !n;
}

static hybrid_result hyb_data_lines(hyb_data_job *job, hyb_documents *documents, hyb_conversation *c,
                                    hybrid_error *error)
{
    hyb_document document;
    hybrid_error why;
    hybrid_result r;
    size_t source = SIZE_MAX;
    uint64_t line = 0;
    bool more;
    for (;;) {
        const char *text;
        if ((r = hyb_documents_next(documents, &document, &more, error)) != HYBRID_OK || !more) return r;
        line = document.source == source ? line + 1 : 1;
        source = document.source;
        text = (const char *)document.text;
        if (line == 1 && document.size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) { /* a byte order mark */
            text += 3;
            document.size -= 3;
        }
        if (!hyb_data_blank(text, document.size) &&
            (r = hyb_conversation_add(c, text, document.size, &why)) != HYBRID_OK) {
            if (!c->bad) {
                if (error) *error = why;
                return r;
            }
            if ((r = hyb_data_bad_line(job, source, line, &why, error)) != HYBRID_OK) return r;
        } else if (document.size)
            job->data->info.n_documents += !hyb_data_blank(text, document.size);
        if (!hyb_data_report(job, hyb_documents_fraction(documents))) return hyb_data_cancelled(error);
    }
}

static hybrid_result hyb_data_chats(hyb_data_job *job, hybrid_error *error)
{
    static const hybrid_string newline = { "\n", 1 };
    const hybrid_data_desc *desc = job->desc;
    hyb_corpus *c = &job->data->corpus;
    hyb_documents documents;
    hyb_conversation *talk;
    hybrid_result r = hyb_documents_make(&documents, &c->memory, desc->sources, desc->n_sources, &newline, 1, error);
    job->n_taken = desc->n_sources;
    if (!r && !(talk = (hyb_conversation *)hyb_calloc(job->data->rt, 1, sizeof *talk)))
        r = hyb_fail_memory(error, sizeof *talk);
    else if (!r) {
        talk->rt = job->data->rt;
        talk->tok = desc->tokenizer;
        talk->tmpl = desc->tmpl;
        talk->corpus = c;
        talk->parse_special = desc->parse_special;
        hyb_conversation_make(talk);
        r = hyb_data_lines(job, &documents, talk, error);
        hyb_conversation_free(talk);
        hyb_free(job->data->rt, talk);
    }
    hyb_documents_free(&documents);
    return r;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static hybrid_result hyb_data_token_file(hyb_data_job *job, size_t i, int32_t *block, hybrid_error *error)
{
    hyb_corpus *c = &job->data->corpus;
    const int32_t separator = job->desc->separator ? *job->desc->separator : job->eos;
    hybrid_result r;
    job->n_taken = i + 1;
    if ((r = hyb_file_open_as(&job->desc->sources[i], false, &c->files[i], error)) != HYBRID_OK) return r;
    c->n_files = i + 1;
    if (c->files[i].size < c->header || (c->files[i].size - c->header) % (uint64_t)c->width)
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "source %llu has %llu bytes: that is not a header of %llu bytes and tokens of %d bytes each",
                        (unsigned long long)i, (unsigned long long)c->files[i].size, (unsigned long long)c->header,
                        c->width);
    return hyb_corpus_scan(c, (uint32_t)i, separator, job->bos, block, error);
}

static hybrid_result hyb_data_tokens(hyb_data_job *job, hybrid_error *error)
{
    hyb_corpus *c = &job->data->corpus;
    const size_t n = job->desc->n_sources;
    int32_t *block;
    hybrid_result r = HYBRID_OK;
    size_t i;
    if (!(c->files = (hyb_file *)hyb_calloc(job->data->rt, n, sizeof *c->files)))
        return hyb_fail_memory(error, n * sizeof *c->files);
    if (!(block = (int32_t *)hyb_budget_alloc(&c->memory, HYB_CORPUS_BLOCK * sizeof *block)))
        return hyb_budget_fail(&c->memory, "reading tokens", error);
    for (i = 0; i < n && !r; i++) {
        r = hyb_data_token_file(job, i, block, error);
        if (!r && !hyb_data_report(job, (float)((double)(i + 1) / (double)n))) r = hyb_data_cancelled(error);
    }
    hyb_budget_free(&c->memory, block, HYB_CORPUS_BLOCK * sizeof *block);
    return r;
}

/* ---- creating ---------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_data_check(const hybrid_data_desc *desc, hybrid_error *error)
{
    const bool tokens = desc->kind == HYBRID_DATA_U16 || desc->kind == HYBRID_DATA_U32;
    const char *wrong = NULL;
    if (!desc->sources || !desc->n_sources || desc->n_sources > UINT32_MAX)
        wrong = "there are no sources";
    else if ((unsigned)desc->kind > HYBRID_DATA_CHAT)
        wrong = "there is no such kind";
    else if (!tokens && !desc->tokenizer)
        wrong = "texts and conversations need a tokenizer";
    else if (desc->kind == HYBRID_DATA_CHAT && !desc->tmpl)
        wrong = "conversations need a template: the model's (hybrid_model_template), or one of "
                "hybrid_template_create where it has none";
    else if (desc->kind == HYBRID_DATA_CHAT && desc->across)
        wrong = "windows of conversations do not run across their borders";
    else if (desc->n_ctx < 0 || desc->n_ctx > INT32_MAX / 8)
        wrong = "n_ctx is negative, or more than any model has";
    else if (desc->n_vocab < 0)
        wrong = "n_vocab is negative";
    else if (!tokens && desc->n_vocab && desc->n_vocab < hybrid_vocab_size(desc->tokenizer))
        wrong = "n_vocab is less than the tokenizer has: it is that of another model";
    else if (!(desc->validation >= 0 && desc->validation < 1))
        wrong = "validation is a part of the whole, from 0 to less than 1";
    return wrong ? hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_data_create: %s", wrong) : HYBRID_OK;
}

/* Windows and what is said of them. */
static hybrid_result hyb_data_finish(hyb_data_job *job, hybrid_error *error)
{
    const hybrid_data_desc *desc = job->desc;
    hybrid_data *data = job->data;
    hyb_corpus *c = &data->corpus;
    hybrid_data_info *info = &data->info;
    uint64_t i;
    if (desc->kind != HYBRID_DATA_CHAT) info->n_documents = c->n_pieces;
    if (!c->n_pieces)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "the training data has no two tokens that follow each other");
    if (!hyb_corpus_split(c, (double)desc->validation, desc->across, desc->kind != HYBRID_DATA_CHAT))
        return hyb_budget_fail(&c->memory, "listing documents", error);
    info->n_windows = hyb_corpus_number(c, 0, c->n_train, &info->n_targets);
    info->n_validation_windows = hyb_corpus_number(c, c->n_train, c->n_pieces, &info->n_validation_targets);
    if (!info->n_windows || (desc->validation > 0 && !info->n_validation_windows))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the training data is too small to be split: %llu windows for training and %llu for "
                        "validation. Give more of it, or another part for validation",
                        (unsigned long long)info->n_windows, (unsigned long long)info->n_validation_windows);
    for (i = 0; i < c->n_files; i++) info->n_tokens += hyb_corpus_source_size(c, (uint32_t)i);
    if (!c->n_files) info->n_tokens = c->n_tokens;
    data->scratch = (int32_t *)hyb_budget_alloc(&c->memory, ((size_t)c->n_ctx + 1) * sizeof *data->scratch);
    if (!data->scratch) return hyb_budget_fail(&c->memory, "making room for a window", error);
    info->n_ctx = c->n_ctx;
    info->bytes = c->memory.used;
    return HYBRID_OK;
}

static hybrid_result hyb_data_fill(hyb_data_job *job, hybrid_error *error)
{
    const hybrid_data_desc *desc = job->desc;
    const hybrid_tokenizer *tok = desc->tokenizer;
    const bool tokens = desc->kind == HYBRID_DATA_U16 || desc->kind == HYBRID_DATA_U32;
    hyb_corpus *c = &job->data->corpus;
    hybrid_result r = hyb_data_check(desc, error);
    if (r) return r;
    job->eos = hybrid_token_role_id(tok, HYBRID_ROLE_EOS);
    job->bos = hybrid_tokenizer_adds_bos(tok) ? hybrid_token_role_id(tok, HYBRID_ROLE_BOS) : -1;
    job->data->seed = desc->seed;
    job->data->in_order = desc->in_order;
    c->memory.most = desc->max_bytes;
    c->n_ctx = desc->n_ctx ? desc->n_ctx : HYB_DATA_N_CTX;
    c->n_vocab = desc->n_vocab ? (uint32_t)desc->n_vocab : tok ? (uint32_t)hybrid_vocab_size(tok) : INT32_MAX;
    if (tokens)
        c->width = desc->kind == HYBRID_DATA_U16 ? 2 : 4;
    else
        c->width = c->n_vocab <= 65536 ? 2 : 4;
    if (tokens) c->header = desc->header;
    r = tokens                           ? hyb_data_tokens(job, error)
        : desc->kind == HYBRID_DATA_TEXT ? hyb_data_texts(job, error)
                                         : hyb_data_chats(job, error);
    return r ? r : hyb_data_finish(job, error);
}

static void hyb_data_free(hybrid_data *data)
{
    hybrid_runtime *rt = data->rt;
    hyb_budget_free(&data->corpus.memory, data->scratch, ((size_t)data->corpus.n_ctx + 1) * sizeof *data->scratch);
    hyb_corpus_free(&data->corpus);
    hyb_free(rt, data);
    hyb_runtime_release(rt);
}

HYB_BORDER(hybrid_result, hybrid_data_create,
           (hybrid_runtime *runtime, const hybrid_data_desc *desc, hybrid_data **data, hybrid_error *error),
           (runtime, desc, data, error))
{
    const size_t n = desc && desc->sources ? desc->n_sources : 0;
    hyb_data_job job;
    hybrid_runtime *rt;
    hybrid_result r;
    if (data) *data = NULL;
    if (!desc || !data) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_data_create: desc or data is NULL");
    memset(&job, 0, sizeof job);
    job.desc = desc;
    job.told = -1;
    if (!(r = hyb_runtime_retain(runtime, &rt, error))) {
        if (!(job.data = (hybrid_data *)hyb_calloc(rt, 1, sizeof *job.data))) {
            hyb_runtime_release(rt);
            r = hyb_fail_memory(error, sizeof *job.data);
        } else {
            job.data->rt = job.data->corpus.memory.rt = rt;
            r = hyb_data_fill(&job, error);
        }
    }
    if (n > job.n_taken) hyb_sources_close(desc->sources + job.n_taken, n - job.n_taken);
    if (r && job.data) hyb_data_free(job.data);
    if (!r) *data = job.data;
    return r;
}

HYB_BORDER_VOID(hybrid_data_destroy, (hybrid_data *data), (data))
{
    if (!data) return;
    if (hyb_busy(data->in_use)) {
        hyb_log(data->rt, HYBRID_LOG_ERROR,
                "hybrid_data_destroy: the data is in use: its reader called it again; it was not destroyed");
        return;
    }
    hyb_data_free(data);
}

HYB_BORDER_VOID(hybrid_data_describe, (const hybrid_data *data, hybrid_data_info *info), (data, info))
{
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (data) *info = data->info;
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_data_enter(hybrid_data *data, const char *function, int32_t n_windows, const int32_t *ids,
                                    const int32_t *targets, hybrid_error *error)
{
    if (!data || n_windows < 0 || (n_windows && (!ids || !targets)))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: data, ids or targets is NULL, or n_windows is negative",
                        function);
    if (hyb_busy(data->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the data is in use: its reader called it again", function);
    data->in_use = hyb_process();
    return HYBRID_OK;
}

/* The windows after those that were given; weights may be NULL. */
static hybrid_result hyb_data_give(hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets, float *weights,
                                   hybrid_error *error)
{
    hybrid_data_position at = data->position;
    hybrid_result r = HYBRID_OK;
    int32_t i;
    for (i = 0; i < n_windows && !r; i++) {
        const size_t row = (size_t)i * (size_t)data->corpus.n_ctx;
        uint64_t window;
        if (at.index == data->info.n_windows) {
            at.epoch++;
            at.index = 0;
        }
        window = at.index++;
        if (!data->in_order) window = hyb_permute(data->seed, at.epoch, data->info.n_windows, window);
        r = hyb_corpus_window(&data->corpus, 0, data->corpus.n_train, window, data->scratch, ids + row, targets + row,
                              weights ? weights + row : NULL, error);
    }
    if (!r) data->position = at;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_data_next,
           (hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets, hybrid_error *error),
           (data, n_windows, ids, targets, error))
{
    hybrid_result r = hyb_data_enter(data, "hybrid_data_next", n_windows, ids, targets, error);
    if (r) return r;
    r = hyb_data_give(data, n_windows, ids, targets, NULL, error);
    data->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_data_next_weighted,
           (hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets, float *weights, hybrid_error *error),
           (data, n_windows, ids, targets, weights, error))
{
    hybrid_result r;
    if (n_windows > 0 && !weights)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_data_next_weighted: weights is NULL");
    r = hyb_data_enter(data, "hybrid_data_next_weighted", n_windows, ids, targets, error);
    if (r) return r;
    r = hyb_data_give(data, n_windows, ids, targets, weights, error);
    data->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_data_validation,
           (hybrid_data *data, uint64_t first, int32_t n_windows, int32_t *ids, int32_t *targets, hybrid_error *error),
           (data, first, n_windows, ids, targets, error))
{
    hybrid_result r = hyb_data_enter(data, "hybrid_data_validation", n_windows, ids, targets, error);
    int32_t i;
    if (r) return r;
    if (first > data->info.n_validation_windows || (uint64_t)n_windows > data->info.n_validation_windows - first)
        r = hyb_fail(error, HYBRID_ERROR_INVALID,
                     "hybrid_data_validation: %ld windows from %llu on were asked for, there are %llu", (long)n_windows,
                     (unsigned long long)first, (unsigned long long)data->info.n_validation_windows);
    for (i = 0; i < n_windows && !r; i++) {
        const size_t row = (size_t)i * (size_t)data->corpus.n_ctx;
        r = hyb_corpus_window(&data->corpus, data->corpus.n_train, data->corpus.n_pieces, first + (uint64_t)i,
                              data->scratch, ids + row, targets + row, NULL, error);
    }
    data->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_data_position, hybrid_data_where, (const hybrid_data *data), (data))
{
    static const hybrid_data_position beginning = { 0, 0 };
    return data ? data->position : beginning;
}

HYB_BORDER(hybrid_result, hybrid_data_seek, (hybrid_data *data, hybrid_data_position position, hybrid_error *error),
           (data, position, error))
{
    if (!data) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_data_seek: data is NULL");
    if (hyb_busy(data->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_data_seek: the data is in use: its reader called it again");
    if (position.index > data->info.n_windows)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_data_seek: window %llu of an epoch that has %llu: the data is not the same any more",
                        (unsigned long long)position.index, (unsigned long long)data->info.n_windows);
    data->position = position;
    return HYBRID_OK;
}
#endif
