/* ---- sampler: from logits to the next token ---------------------------------------------------------------------- */
#ifndef HYB_API_SAMPLER_H
#define HYB_API_SAMPLER_H
#include "context.h"
#ifndef HYBRID_NO_TEXT
    #include "tokenizer.h"
#endif

typedef struct hybrid_sampler hybrid_sampler;

/* Added to the logit of a token. -INFINITY forbids it; INFINITY forces it (of several forced ones, the lowest id). */
typedef struct hybrid_logit_bias {
    int32_t id;
    float bias;
} hybrid_logit_bias;

/* A part of the chain that is the host's: it may change logits (n) of the tokens ids (n, rising), whose order stays;
 * -INFINITY drops a token, NaN or INFINITY makes the call fail (NUMERIC). It may be called again for the same position.
 * It must not use the sampler that calls it.
 * A function cannot be saved: a session with one is not loaded. */
typedef void (*hybrid_sampler_function)(void *user, const int32_t *ids, float *logits, int32_t n);

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

    /* DRY, "don't repeat yourself" (p-e-w, text-generation-webui pull request 5677; llama.cpp 9702): where the last
     * tokens, n of them, are what stood somewhere before, with n >= dry_allowed_length, the logit of the token that
     * came next there is lowered by dry_multiplier * dry_base^(n - dry_allowed_length); the longest n counts, and at
     * most 1e30. A repetition ends at a breaker, which is never penalized itself: without any, the turns of a template
     * count as repetitions. See hybrid_tokens_with. */
    float dry_multiplier;          /* 0: none. Usual: 0.8 */
    float dry_base;                /* 1 to 1e6; 0: 1.75 */
    int32_t dry_allowed_length;    /* 0: 2 */
    int32_t dry_last_n;            /* the last accepted tokens that are looked at; 0: 1024 */
    const int32_t *dry_breakers;   /* ids; copied */
    size_t n_dry_breakers;

    const hybrid_logit_bias *bias; /* copied; ids that are not in the vocabulary have no effect */
    size_t n_bias;

    /* Called for every token, with the n_function likeliest ones and their logits as they are by now. All others are
     * out. */
    hybrid_sampler_function function; /* NULL: none */
    void *function_user;
    int32_t n_function; /* at most 2048; 0: 256 */

    float temperature; /* logits are divided by it. 0: greedy, and nothing below matters */
    /* Dynamic temperature (Zhu and others, arXiv 2309.02772, "EDT"; llama.cpp 4972): with H the entropy at temperature
     * 1 of the n tokens that are not excluded, it is low + (high - low) * (H / ln n)^temperature_exponent, low and high
     * being temperature -/+ temperature_range, low at least 0. 0: none */
    float temperature_range;
    float temperature_exponent; /* 0: 1 */
    float top_n_sigma; /* only those at most top_n_sigma deviations of all logits below the best (Tang and others, arXiv
                        * 2411.07641); 0: all. Usual: 1 */
    int32_t top_k;     /* of those only the top_k likeliest; 0: all */
    float top_p;       /* of those the fewest likeliest whose probabilities sum to top_p or more; 0 and 1: all */
    float min_p;       /* of those the ones that are at least min_p times as probable as the best; 0: all */
    /* of those the fewest most typical (information nearest to the entropy) that sum to typical_p; 0 and 1: all */
    float typical_p;
    /* XTC, "exclude top choices" (p-e-w, text-generation-webui pull request 6335; llama.cpp 9742): of those, with a
     * chance of xtc_probability for each token, all that are at least xtc_threshold probable are dropped but for the
     * least probable of them. */
    float xtc_probability; /* 0: never */
    float xtc_threshold;   /* 0 to 1; 0: 0.1. Above 0.5 nothing is ever dropped */
    /* Mirostat (Basu and others, arXiv 2007.14966): keeps the surprise of the tokens, -log2 of their probability, near
     * mirostat_tau bits. A bound mu (first 2 tau) falls by mirostat_eta times what a token that was drawn and accepted
     * surprised above tau. 2: tokens that would surprise above mu are dropped (one stays). 1: as many of the likeliest
     * stay as mu allows where probabilities fall as in Zipf's law, with the exponent of the 100 likeliest ones and the
     * size of the vocabulary. Usually alone, with a temperature. */
    int32_t mirostat;   /* 0: none, 1, 2 */
    float mirostat_tau; /* 0: 5 */
    float mirostat_eta; /* 0: 0.1 */
    uint64_t seed; /* the same seed gives the same tokens, on every machine; 0 is a seed like any other */
} hybrid_sampler_desc;

/* desc may be NULL. HYBRID_ERROR_INVALID names the field that is out of range. All memory is taken here (about 64 KB,
 * whatever the vocabulary's size; with DRY 28 bytes for each of dry_last_n). A sampler is used by one thread at a
 * time; every sequence has its own. */
HYBRID_API hybrid_result hybrid_sampler_create(hybrid_runtime *runtime, const hybrid_sampler_desc *desc,
                                               hybrid_sampler **sampler, hybrid_error *error);
HYBRID_API void hybrid_sampler_destroy(hybrid_sampler *sampler);

/* Chooses a token: logits (n_vocab), not changed. Give the number of real tokens as n_vocab, so that padding is never
 * chosen; a logit of -INFINITY excludes a token. Returns the id, or a negative hybrid_result: HYBRID_ERROR_INVALID (no
 * logits), HYBRID_ERROR_NUMERIC (a logit is NaN or +infinite, or all are excluded), of which hybrid_sampler_result has
 * the sentence; it then does not count as a try (NUMERIC also where the host's function made a logit so). What is
 * drawn depends on the logits, the settings, the accepted tokens
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
 * (a bias, a temperature without top_k or with a large one, penalties that raise, top_n_sigma, a temperature_range,
 * mirostat 1). NULL: greedy. */
HYBRID_API int32_t hybrid_sampler_candidates(const hybrid_sampler_desc *desc);

/* From now on only the tokens whose bits are set are chosen (bit id % 32 of mask[id / 32]; ids from 32 * n_words on are
 * not): before the penalties, so all filters see only those. mask (NULL: all tokens again) is kept, not copied: it must
 * stay until the next call of this function. See hybrid_matcher_mask. A forcing bias applies among these tokens. */
HYBRID_API void hybrid_sampler_set_mask(hybrid_sampler *sampler, const uint32_t *mask, size_t n_words);

/* The sequence goes on with this token: the penalties see it, the next draw is a new one, and mirostat learns from it
 * if it is the one that was drawn last. Negative ids are ignored. */
HYBRID_API void hybrid_sampler_accept(hybrid_sampler *sampler, int32_t id);

#ifndef HYBRID_NO_TEXT
/* The tokens whose bytes hold one of the texts: for dry_breakers (usual: line ends, ":", "\"" and "*"), or to bias. The
 * first capacity of them, rising, into ids; returns how many there are (0 when tokenizer or texts is NULL). Control
 * tokens count by their spelling. */
HYBRID_API size_t hybrid_tokens_with(const hybrid_tokenizer *tokenizer, const char *const *texts, size_t n_texts,
                                     int32_t *ids, size_t capacity);
#endif

/* Back to the state after create: no tokens accepted, the random numbers from the start. */
HYBRID_API void hybrid_sampler_reset(hybrid_sampler *sampler);
#endif
