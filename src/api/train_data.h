/* ---- training data: batches out of texts, tokens or conversations ---------------------------------------------------
 *
 *     hybrid_source text = { "corpus.txt" };
 *     hybrid_data_desc desc = { 0 };
 *     hybrid_data *data;
 *     desc.sources = &text;
 *     desc.n_sources = 1;
 *     desc.tokenizer = hybrid_model_tokenizer(model);
 *     desc.n_ctx = 128;
 *     desc.validation = 0.1f;
 *     if (hybrid_data_create(NULL, &desc, &data, &error)) puts(error.message);
 *     hybrid_data_next(data, 4, ids, targets, &error);      // 4 rows of 128, for hybrid_trainer_step
 *
 * A window is n_ctx tokens of one document and, for each, the token that comes next: the documents of a corpus are cut
 * into windows, the last one of each filled up, and an epoch is all windows once, in an order that the seed decides.
 *
 *     document    a b c d e f <eos>                                n_ctx 4
 *     ids         a b c d    e f 0 0                               filled up with token 0,
 *     targets     b c d e    f <eos> -1 -1                         which is not counted
 */
#ifndef HYB_API_TRAIN_DATA_H
#define HYB_API_TRAIN_DATA_H
#include "chat.h"
#include "tokenizer.h"

typedef struct hybrid_data hybrid_data;

typedef enum hybrid_data_kind {
    HYBRID_DATA_TEXT, /* documents end with the name of the tokenizer's EOS in the text, and where a source ends */
    HYBRID_DATA_U16,  /* token ids, little-endian; read when they are needed, so a file may be of any size */
    HYBRID_DATA_U32,
    HYBRID_DATA_CHAT /* JSON Lines: {"messages": [{"role": "user", "content": "Hi"}, ...]}, with "tools" as well;
                        only what the assistant says is counted, the token that ends its turn included. A message
                        with "weight": 0 is not, one with a weight up to 1 counts so much (hybrid_data_next_weighted) */
} hybrid_data_kind;

typedef struct hybrid_data_desc {
    hybrid_data_kind kind;
    /* Paths, memory or readers. Nothing is mapped: a file that gets shorter is an error of the call that notices.
     * Token files and readers stay open; memory with tokens outlives the data. A reader is closed once, at the latest
     * by hybrid_data_destroy, or when creating fails. */
    const hybrid_source *sources;
    size_t n_sources;
    const hybrid_tokenizer *tokenizer; /* text and conversations; used by hybrid_data_create alone */
    const hybrid_template *tmpl;       /* conversations: hybrid_model_template; used by hybrid_data_create alone */
    int32_t n_ctx;                     /* tokens of a window; 0: 256 */
    int32_t n_vocab;          /* ids from there on are an error; 0: those of the tokenizer, or any without one */
    const int32_t *separator; /* tokens: the one that ends a document; NULL: the tokenizer's EOS, or none without one */
    uint64_t header;          /* tokens: bytes before the first one of every source (1024 in those of llm.c) */
    /* Names of control tokens become tokens: in a text everywhere; in messages, too, where they are letters otherwise
     * (those of the template are tokens always). In the words of strangers they should stay letters. */
    bool parse_special;
    /* Windows run over the borders of documents, so that few are filled up, and tokens see documents that have nothing
     * to do with theirs. Not of conversations. */
    bool across;
    bool in_order; /* windows come as they stand in the sources, the same in every epoch */
    uint64_t seed;
    /* The part of the targets, from the end, that is for validation: whole documents, but where no border is near (by
     * half of the part), a document is cut. */
    float validation;
    /* Conversations: told of every line that cannot be used, counted from 1: true leaves it out, false (and NULL) ends
     * the call with that sentence. */
    bool (*bad_line)(void *user, size_t source, uint64_t line, const char *why);
    hybrid_progress_fn progress; /* creating; may be NULL */
    void *user;                  /* of both */
    uint64_t max_bytes;          /* of memory: more is HYBRID_ERROR_LIMIT; 0: any */
} hybrid_data_desc;

typedef struct hybrid_data_info {
    uint64_t n_documents;                                /* or conversations; those with no target do not count */
    uint64_t n_tokens;                                   /* of all of them */
    uint64_t n_bad;                                      /* lines that were left out */
    uint64_t n_windows, n_targets;                       /* of an epoch */
    uint64_t n_validation_windows, n_validation_targets; /* of validation */
    uint64_t bytes;                                      /* of memory that the data holds */
    int32_t n_ctx;
} hybrid_data_info;

/* Where the next batch begins: what a checkpoint keeps. Zero is the beginning. */
typedef struct hybrid_data_position {
    uint64_t epoch, index; /* index: windows of this epoch that were given */
} hybrid_data_position;

/* Reads texts and conversations into tokens; looks through token files once. runtime may be NULL. Memory: 2 bytes a
 * token of texts and conversations (4, where the vocabulary has more than 65536), 24 to 32 a document, and the longest
 * document while it is read.
 * HYBRID_ERROR_FORMAT: an id that the vocabulary does not have, half a token, a bad line, no target for training or for
 * the validation that was asked for; HYBRID_ERROR_INVALID, _UNSUPPORTED, _LIMIT, _CANCELLED, _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_data_create(hybrid_runtime *runtime, const hybrid_data_desc *desc, hybrid_data **data,
                                            hybrid_error *error);
HYBRID_API void hybrid_data_destroy(hybrid_data *data);
HYBRID_API void hybrid_data_describe(const hybrid_data *data, hybrid_data_info *info);

/* The next n_windows windows, for training: ids and targets are (n_windows, n_ctx), targets that are not counted -1.
 * Where an epoch ends, the next one begins, in another order. The same seed and position give the same windows, on
 * every machine. One thread at a time. HYBRID_ERROR_IO, _FORMAT: a token file is not what it was; then nothing was
 * taken. HYBRID_ERROR_INVALID. */
HYBRID_API hybrid_result hybrid_data_next(hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets,
                                          hybrid_error *error);
/* The same, and weights (n_windows, n_ctx): what each target counts, for hybrid_train_batch: the "weight" of its
 * message, 1 where that says nothing, 0 where the target is not counted. */
HYBRID_API hybrid_result hybrid_data_next_weighted(hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets,
                                                   float *weights, hybrid_error *error);
HYBRID_API hybrid_data_position hybrid_data_where(const hybrid_data *data);
/* HYBRID_ERROR_INVALID: no epoch has such a window. */
HYBRID_API hybrid_result hybrid_data_seek(hybrid_data *data, hybrid_data_position position, hybrid_error *error);

/* Windows first to first + n_windows - 1 of those for validation, in their order. Errors as of hybrid_data_next. */
HYBRID_API hybrid_result hybrid_data_validation(hybrid_data *data, uint64_t first, int32_t n_windows, int32_t *ids,
                                                int32_t *targets, hybrid_error *error);
#endif
