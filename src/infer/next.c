/* infer/next: the next token of a sequence. A GPU keeps the logits and sends only the likeliest ones, where the sampler
 * can do with those. */
#ifndef HYB_INFER_NEXT_C
#define HYB_INFER_NEXT_C
#include "sampler.c"
#include "context.c"

/* Whether the k likeliest logits decide what this sampler does. Penalties that only lower logits can move as many
 * tokens out of the front as were seen, and none into it. */
static bool hyb_sampler_needs(const hybrid_sampler_desc *d, size_t n_bias, size_t n_seen, int32_t k)
{
    const bool lowers = d->repetition_penalty >= 1 && d->frequency_penalty >= 0 && d->presence_penalty >= 0;
    const int64_t want = d->temperature <= 0 ? 1 : d->top_k;
    return !n_bias && lowers && want > 0 && want + (int64_t)n_seen <= k;
}

HYB_BORDER(int32_t, hybrid_sampler_candidates, (const hybrid_sampler_desc *desc), (desc))
{
    hybrid_sampler_desc d;
    size_t seen;
    memset(&d, 0, sizeof d);
    if (desc) d = *desc;
    if (d.repetition_penalty <= 0) d.repetition_penalty = 1;
    seen = d.repetition_penalty != 1 || d.frequency_penalty != 0 || d.presence_penalty != 0
               ? (size_t)(d.penalty_last_n > 0 ? d.penalty_last_n : 64)
               : 0;
    return hyb_sampler_needs(&d, d.n_bias, seen, HYB_TOP_K_MAX) ? (int32_t)HYB_TOP_K_MAX : 0;
}

typedef struct hyb_few {
    int32_t n, id[HYB_TOP_K_MAX];
    float logit[HYB_TOP_K_MAX];
} hyb_few;

/* The candidates of a row in order of id, so that sums have the order they have over all logits. */
static void hyb_few_sort(hyb_few *few, const int32_t *ids, const float *values, int32_t n)
{
    int32_t i, at;
    for (few->n = i = 0; i < n && ids[i] >= 0; i++, few->n++) {
        for (at = few->n; at > 0 && few->id[at - 1] > ids[i]; at--) {
            few->id[at] = few->id[at - 1];
            few->logit[at] = few->logit[at - 1];
        }
        few->id[at] = ids[i];
        few->logit[at] = values[i];
    }
}

HYB_BORDER(int32_t, hybrid_sample_next, (hybrid_sampler *s, hybrid_context *context, int32_t seq, int32_t n_vocab),
           (s, context, seq, n_vocab))
{
    const int32_t row = context && s && !hyb_check_seq(context, seq, NULL) && context->logits_n[seq]
                            ? hyb_logits_row(context, seq, (size_t)context->logits_n[seq] - 1)
                            : -1;
    const int32_t k = row >= 0 ? context->forward.n_top : 0;
    hyb_few few;
    int32_t at;
    if (context && n_vocab > context->model->hp.n_vocab)
        return (int32_t)HYBRID_ERROR_INVALID; /* rows are not as long as that */
    if (!k || row >= context->n_top || n_vocab != context->forward.n_tokens ||
        !hyb_sampler_needs(&s->desc, s->desc.n_bias, s->n_seen, HYB_MIN(k, n_vocab)))
        return hybrid_sample(s, hybrid_logits(context, seq), n_vocab);
    if (!(context->top_stats[2 * row + 1] < INFINITY))
        return (int32_t)HYBRID_ERROR_NUMERIC; /* NaN somewhere in the row, or infinite */
    hyb_few_sort(&few, context->top_ids + (size_t)row * (size_t)k, context->top_values + (size_t)row * (size_t)k, k);
    at = hyb_sampler_choose(s, few.id, few.logit, few.n);
    return at < 0 ? at : few.id[at];
}
#endif
