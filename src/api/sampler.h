/* ---- sampler: from logits to the next token ---------------------------------------------------------------------- */
#ifndef HYB_API_SAMPLER_H
#define HYB_API_SAMPLER_H
#include "context.h"

typedef struct hybrid_sampler hybrid_sampler;

/* Added to the logit of a token. -INFINITY forbids it; INFINITY forces it (of several forced ones, the lowest id). */
typedef struct hybrid_logit_bias {
    int32_t id;
    float bias;
} hybrid_logit_bias;

/* Zero is greedy: always the likeliest token (of equals the lowest id). The fields stand in the order in which they are
 * applied.
 * "The likeliest" below: in order of falling logit, equals by rising id. */
typedef struct hybrid_sampler_desc {
    /* Penalties, over the last penalty_last_n accepted tokens (prompt tokens that you accept included). Each is applied
     * once per distinct token: a logit l of a token that occurs c times becomes (l > 0 ? l / repetition : l *
     * repetition) - c * frequency - presence.
     * What leaves the range of floats by that is computed in a wider one: extreme settings and logits still choose
     * by the true order. */
    float repetition_penalty;      /* > 0; 0 and 1: none. Usual: 1.05 to 1.3 */
    float frequency_penalty;       /* 0: none; negative encourages */
    float presence_penalty;        /* 0: none; negative encourages */
    int32_t penalty_last_n;        /* 0: 64 */
    const hybrid_logit_bias *bias; /* copied; ids that are not in the vocabulary have no effect */
    size_t n_bias;
    float temperature; /* logits are divided by it. 0: greedy, and nothing below matters */
    int32_t top_k;     /* only the top_k likeliest; 0: all */
    float top_p;       /* of those the fewest likeliest whose probabilities sum to top_p or more; 0 and 1: all */
    float min_p;       /* of those the ones that are at least min_p times as probable as the best; 0: all */
    /* of those the fewest most typical (information nearest to the entropy) that sum to typical_p; 0 and 1: all */
    float typical_p;
    uint64_t seed; /* the same seed gives the same tokens, on every machine; 0 is a seed like any other */
} hybrid_sampler_desc;

/* desc may be NULL. HYBRID_ERROR_INVALID names the field that is out of range. All memory is taken here (about 64 KB,
 * whatever the vocabulary's size). A sampler is used by one thread at a time; every sequence has its own. */
HYBRID_API hybrid_result hybrid_sampler_create(hybrid_runtime *runtime, const hybrid_sampler_desc *desc,
                                               hybrid_sampler **sampler, hybrid_error *error);
HYBRID_API void hybrid_sampler_destroy(hybrid_sampler *sampler);

/* Chooses a token: logits (n_vocab), not changed. Give the number of real tokens as n_vocab, so that padding is never
 * chosen; a logit of -INFINITY excludes a token. Returns the id, or a negative hybrid_result: HYBRID_ERROR_INVALID (no
 * logits), HYBRID_ERROR_NUMERIC (a logit is NaN or +infinite, or all are excluded), of which hybrid_sampler_result has
 * the sentence; it then does not count as a try. What is drawn depends on the logits, the settings, the accepted tokens
 * and the number of tries since the last of them: a second call without an accept draws again. Follow it by
 * hybrid_sampler_accept when you take the token. */
HYBRID_API int32_t hybrid_sample(hybrid_sampler *sampler, const float *logits, int32_t n_vocab);

/* The same from hybrid_logits(context, seq), among the tokens of the model's vocabulary. Where a GPU holds the logits
 * and the context was told to expect this (n_candidates), only the likeliest of them come to the host. The token is the
 * same. */
HYBRID_API int32_t hybrid_sample_next(hybrid_sampler *sampler, hybrid_context *context, int32_t seq,
                                      hybrid_error *error);

/* Of the last hybrid_sample or hybrid_sample_next: HYBRID_OK, or why it chose no token, with the sentence. error may be
 * NULL. */
HYBRID_API hybrid_result hybrid_sampler_result(const hybrid_sampler *sampler, hybrid_error *error);

/* What to set hybrid_context_desc.n_candidates to, for sequences with samplers like this: 0 when they need all logits
 * (a bias, a temperature without top_k or with a large one, penalties that raise). NULL: greedy. */
HYBRID_API int32_t hybrid_sampler_candidates(const hybrid_sampler_desc *desc);

/* From now on only the tokens whose bits are set are chosen (bit id % 32 of mask[id / 32]; ids from 32 * n_words on are
 * not): before the penalties, so all filters see only those. mask (NULL: all tokens again) is kept, not copied: it must
 * stay until the next call of this function. See hybrid_matcher_mask. A forcing bias applies among these tokens. */
HYBRID_API void hybrid_sampler_set_mask(hybrid_sampler *sampler, const uint32_t *mask, size_t n_words);

/* The sequence goes on with this token: the penalties see it, and the next draw is a new one. Negative ids are
 * ignored. */
HYBRID_API void hybrid_sampler_accept(hybrid_sampler *sampler, int32_t id);

/* Back to the state after create: no tokens accepted, the random numbers from the start. */
HYBRID_API void hybrid_sampler_reset(hybrid_sampler *sampler);
#endif
