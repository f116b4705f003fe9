/* ---- bpe trainer: a vocabulary from raw text ------------------------------------------------------------------------
 *
 *     hybrid_source text = { "corpus.txt" };
 *     hybrid_bpe_desc desc = { 0 };
 *     hybrid_tokenizer *tok;
 *     desc.texts = &text;
 *     desc.n_texts = 1;
 *     desc.vocab_size = 4096;
 *     if (hybrid_bpe_train(NULL, &desc, &tok, NULL, &error)) puts(error.message);
 *
 * Byte-level BPE as GPT-2 has it: words are cut out of the texts, and the pair of neighbouring tokens that comes most
 * often becomes a token, again and again. The tokenizer works at once; hybrid_tokenizer_to_gguf puts it into a model's
 * file, hybrid_tokenizer_write writes it for other tools. */
#ifndef HYB_API_BPE_TRAINER_H
#define HYB_API_BPE_TRAINER_H
#include "tokenizer.h"

/* Which of several pairs that come equally often is merged. */
typedef enum hybrid_bpe_ties {
    HYBRID_BPE_TIES_BYTES, /* the one whose left token, then whose right token is the greater string of bytes: Stanford
                              CS336's reference */
    HYBRID_BPE_TIES_IDS    /* the one whose left token, then whose right token has the lower id: HF tokenizers */
} hybrid_bpe_ties;

typedef struct hybrid_bpe_desc {
    /* Paths, memory or readers, each of one or more documents. Files are read, not mapped. Readers are closed when the
     * call returns. Text is any bytes. */
    const hybrid_source *texts;
    size_t n_texts;
    int32_t vocab_size; /* special tokens, 256 bytes, and what is merged; 0: 8192 */
    /* Zero-terminated UTF-8, at least two bytes: control tokens, with the ids from 0 on. Each ends a document wherever
     * it stands in a text: nothing is merged across it, and it is not counted. NULL: "<|endoftext|>"; none: not NULL,
     * and n_specials 0. A name that could also be the spelling of other bytes ("\xC4\xA0t": a space and t) is
     * refused. */
    const char *const *specials;
    size_t n_specials;
    const char *bos, *eos;  /* which of them; NULL: the first one for both */
    bool add_bos;           /* HYBRID_TOKENIZE_ADD_SPECIAL of the tokenizer puts bos in front */
    const char *pre;        /* how texts are cut into words, as in hybrid_tokenizer_desc; NULL: "gpt-2" */
    uint64_t min_frequency; /* pairs that come less often are not merged; 0: 1 */
    size_t max_token_bytes; /* no longer tokens are made; 0: any */
    hybrid_bpe_ties ties;
    uint64_t max_bytes;          /* of memory, the tokenizer itself not counted: more is HYBRID_ERROR_LIMIT; 0: any */
    hybrid_progress_fn progress; /* at least every 4 MiB of text and every 1024 merges; may be NULL */
    void *user;                  /* of progress */
} hybrid_bpe_desc;

/* What was found. */
typedef struct hybrid_bpe_info {
    uint64_t n_documents, n_bytes; /* of the texts, special tokens not counted */
    uint64_t n_words, n_different; /* words that the texts were cut into, and how many of them differ */
    int32_t n_tokens, n_merges;    /* of the vocabulary: fewer than asked for where no pair was left */
    uint64_t last_frequency;       /* how often the last pair that was merged came; 0: none was merged */
    uint64_t peak_bytes;           /* of memory, the tokenizer itself not counted */
} hybrid_bpe_info;

/* Trains a tokenizer, on the calling thread. runtime and info may be NULL. The result depends on nothing but the texts
 * and desc.
 *
 * Memory, in bytes: the longest document of a file (twice while it is read in; texts in memory lie where they are); 21
 * for each byte of the different words, up to 60 for each different word, 40 for each different pair of neighbours and
 * each token, and twice as much for short while an array grows; and at last three times the text of all tokens. That
 * can be much where min_frequency is 1 and words are long, because a token may then grow by a byte at every merge:
 * max_token_bytes bounds it. Normalizing pre-tokenizers take three times the longest document more, which max_bytes
 * does not know. Time: proportional to the texts, and n log n in the bytes of the different words, whatever the texts
 * are.
 *
 * HYBRID_ERROR_INVALID: no texts, vocab_size less than the special tokens and 256, special tokens as above;
 * HYBRID_ERROR_UNSUPPORTED: the pre-tokenizer; HYBRID_ERROR_LIMIT: more than 2 GiB of different words, max_bytes;
 * HYBRID_ERROR_CANCELLED, _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_bpe_train(hybrid_runtime *runtime, const hybrid_bpe_desc *desc,
                                          hybrid_tokenizer **tokenizer, hybrid_bpe_info *info, hybrid_error *error);
#endif
