/* ---- embed: a text as a vector ------------------------------------------------------------------------------------
 *
 *     const char *const notes[] = { "The cat sleeps.", "A cat is asleep.", "Rates rise." };
 *     hybrid_embed_desc what = { 0 };
 *     what.texts = notes;
 *     what.n_texts = 3;
 *     hybrid_embed(context, &what, vectors, &error);            // float vectors[3][n_embd]
 *
 * Vectors have length 1: the sum of the products of two, value by value, is the cosine of the angle between them, and
 * texts that mean alike have a large one. Models that were trained for it do this well (MiniLM, nomic-embed-text); any
 * other model can be asked, too. */
#ifndef HYB_API_EMBED_H
#define HYB_API_EMBED_H
#include "context.h"

/* How the states of a text's tokens, after the model's last norm, become one vector. */
typedef enum hybrid_pooling {
    HYBRID_POOLING_MODEL = 0, /* as the file says (its key pooling_type); a file that does not: the mean */
    HYBRID_POOLING_MEAN,      /* the mean of all tokens, special ones too */
    HYBRID_POOLING_CLS,       /* the first token */
    HYBRID_POOLING_LAST       /* the last token */
} hybrid_pooling;

/* Zero is a sensible default for every field but the texts. */
typedef struct hybrid_embed_desc {
    const char *const *texts; /* n_texts, zero-terminated; with the special tokens that the vocabulary adds */
    size_t n_texts;
    /* Without texts: n_texts times n_ids[i] tokens, one at least. */
    const int32_t *const *ids;
    const size_t *n_ids;
    hybrid_pooling pooling;
    bool raw;      /* vectors keep their length */
    bool truncate; /* a text that is too long loses tokens at its end (not the special one there); false: it is refused
                    */
    hybrid_progress_fn
        progress; /* after each of the batches that texts are put into; false ends the call; may be NULL */
    void *progress_user;
} hybrid_embed_desc;

/* vectors (n_texts, n_embd) = the meaning of each text (n_embd: of hybrid_model_describe).
 *
 * The context runs in sequences of it that are empty, one at least, and leaves them empty; what their adapters change
 * counts. As many texts go through the model together as there are such sequences (n_seq) and room for (n_ctx tokens in
 * all); a vector is the same to the bit whatever its neighbours are. A text may have as many tokens as fit the context
 * and the model; those of an encoder (hybrid_model_info.is_encoder) go through it in one piece, so n_batch bounds them,
 * too. Logits of earlier decodes are gone.
 *
 * HYBRID_ERROR_INVALID: no texts, a text without tokens, a bad id or pooling, tokens in the batch, no empty sequence;
 * _LIMIT: a text that is too long, see truncate; _CONTEXT_FULL: not even one text fits beside what the context holds;
 * _NUMERIC: states that are not finite; _UNSUPPORTED: texts in a build without them (HYBRID_NO_TEXT), a model that
 * pools in a way of its own; _CANCELLED, _MEMORY, _DEVICE. After a failure the first vectors may be there; everything
 * else is as it was. One thread at a time for each context. */
HYBRID_API hybrid_result hybrid_embed(hybrid_context *context, const hybrid_embed_desc *desc, float *vectors,
                                      hybrid_error *error);
#endif
