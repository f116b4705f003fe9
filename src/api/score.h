/* ---- score: how likely a model finds texts -----------------------------------------------------------------------
 *
 *     const char *const answers[] = { " Paris", " Rome" };
 *     hybrid_score_desc what = { 0 };
 *     hybrid_score_info scores[2] = { { 0 } };
 *     what.prompt = "The capital of France is";
 *     what.texts = answers;
 *     what.n_texts = 2;
 *     hybrid_score(context, &what, scores, &error);             // scores[0].sum > scores[1].sum
 */
#ifndef HYB_API_SCORE_H
#define HYB_API_SCORE_H
#include "context.h"

/* A prompt, and texts that may follow it: as texts (zero-terminated), or as tokens. */
typedef struct hybrid_score_desc {
    const char *prompt; /* NULL or "": a text begins, after the vocabulary's BOS */
    const char *const *texts;
    size_t n_texts;
    bool special; /* control tokens that are spelled out become tokens: for a prompt of a chat template; off for text of
                     strangers */
    /* Without texts: n_texts times n_text_ids[i] tokens, one at least, after n_prompt_ids tokens, one at least. */
    const int32_t *prompt_ids;
    size_t n_prompt_ids;
    const int32_t *const *text_ids;
    const size_t *n_text_ids;
} hybrid_score_desc;

/* How likely a text is after the prompt: the logarithm of its probability, in nats (natural logarithm; never above 0).
 */
typedef struct hybrid_score_info {
    float *each;     /* set it before the call: room for n_room values, or NULL. One for each token of the text, in
                      * their order: ln of its probability, given the prompt and the tokens before it */
    size_t n_room;   /* of a longer text the first n_room are written */
    double sum;      /* of all tokens: ln of the probability of the whole text. The longer a text, the lower: */
    double mean;     /* sum / n_tokens: compares texts of different lengths; exp(-mean) is the perplexity */
    size_t n_tokens; /* tokens that were counted */
    size_t n_best;   /* of those, the ones that the model finds likeliest where they stand: all of them when it would
                      * have said the text itself */
} hybrid_score_info;

/* scores (n_texts): what the model thinks of each text after the prompt. The prompt is computed once; texts share it,
 * and go through the model side by side.
 *
 * The context runs in sequences of it that are empty: one for the prompt, whose adapters count
 * (hybrid_seq_set_adapters; the one with the lowest number), and others for texts, so it has at least two. They are
 * empty again afterwards. More sequences (n_seq) and rows of logits (n_logits: one for each token that is computed at a
 * time) make it faster; results are the same to the bit. Logits of earlier decodes are gone.
 *
 * Texts are tokenized together with the prompt, as if they had been written after it; what is counted begins at the
 * first token in which any of them differs from the prompt alone, so that all of them count the same bytes (a prompt
 * should end before a space rather than after it). The distribution is that over all tokens of the vocabulary, as
 * samplers see it at temperature 1.
 *
 * HYBRID_ERROR_INVALID: nothing to score, an empty text or prompt, a bad token id, tokens in the batch, fewer than two
 * empty sequences; _CONTEXT_FULL: the prompt and a text need more positions than are free; _UNSUPPORTED: texts in a
 * build without them (HYBRID_NO_TEXT); _NUMERIC: logits that are not finite; _MEMORY, _DEVICE. A call that fails leaves
 * scores and sequences as they were. One thread at a time for each context. */
HYBRID_API hybrid_result hybrid_score(hybrid_context *context, const hybrid_score_desc *desc, hybrid_score_info *scores,
                                      hybrid_error *error);
#endif
