/* infer/next: the next token of a sequence. A GPU keeps the logits and sends only the likeliest ones, where the sampler
 * needs no others. */
#ifndef HYB_INFER_NEXT_C
#define HYB_INFER_NEXT_C
#include "sampler.c"
#include "decode.c"

/* Whether the k likeliest logits decide what this sampler does. Penalties that only lower logits can move as many
 * tokens out of the front as were seen, and none into it. */
static bool hyb_sampler_needs(const hybrid_sampler_desc *d, size_t n_bias, size_t n_seen, int32_t k)
{
    const bool lowers = d->repetition_penalty >= 1 && d->frequency_penalty >= 0 && d->presence_penalty >= 0;
    const bool whole = d->temperature > 0 && (d->temperature_range > 0 || d->top_n_sigma > 0 || d->mirostat == 1);
    const int64_t first = d->n_function > 0 ? d->n_function : 256;
    const int64_t want = d->function ? first : d->temperature <= 0 ? 1 : d->top_k;
    return !n_bias && lowers && (!whole || d->function) && want > 0 && want + (int64_t)n_seen <= k;
}

HYB_BORDER(int32_t, hybrid_sampler_candidates, (const hybrid_sampler_desc *desc), (desc))
{
    hybrid_sampler_desc d;
    size_t seen;
    memset(&d, 0, sizeof d);
    if (desc) d = *desc;
    if (d.repetition_penalty <= 0) d.repetition_penalty = 1;
    /* DRY seldom lowers more than a few: if it does, all logits come, as they do for other samplers */
    seen = d.repetition_penalty != 1 || d.frequency_penalty != 0 || d.presence_penalty != 0
               ? (size_t)(d.penalty_last_n > 0 ? d.penalty_last_n : 64)
               : 0;
    return hyb_sampler_needs(&d, d.n_bias, seen, HYB_TOP_K_MAX) ? (int32_t)HYB_TOP_K_MAX : 0;
}

typedef struct hyb_few {
    int32_t n, id[HYB_TOP_K_MAX];
    float logit[HYB_TOP_K_MAX];
} hyb_few;

/* The candidates of a row in order of id, so that sums have the same order as over all logits. */
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

/* Row i of those of a sequence (-1: the last one) in the logits, or a negative result and its sentence. */
static int32_t hyb_next_row(const hybrid_context *c, int32_t seq, int32_t i, hybrid_error *error)
{
    const hybrid_result r = hyb_check_seq(c, seq, error);
    const int32_t row = r || !c->logits_n[seq] ? -1 : hyb_logits_row(c, seq, i < 0 ? c->logits_n[seq] - 1 : i);
    if (r || row >= 0) return r ? (int32_t)r : row;
    return (int32_t)hyb_fail(error, HYBRID_ERROR_INVALID,
                             "hybrid_sample_next: there are no logits of sequence %d: it had no token in the last "
                             "decode, or that has not ended",
                             seq);
}

/* The next token from the likeliest ones of a row, which are all that this sampler needs. */
static int32_t hyb_next_of_few(hybrid_sampler *s, hybrid_context *c, int32_t seq, int32_t row, hybrid_error *error)
{
    const int32_t k = c->forward.n_top;
    int32_t at = (int32_t)HYBRID_ERROR_NUMERIC;
    hyb_few few;
    if (c->top_stats[2 * row + 1] < INFINITY) { /* else one of the row is not a number, or infinite */
        hyb_few_sort(&few, c->top_ids + (size_t)row * (size_t)k, c->top_values + (size_t)row * (size_t)k, k);
        at = hyb_sampler_choose(s, few.id, few.logit, few.n);
    }
    if (at < 0) {
        const float *logits = hybrid_logits_at(c, seq, row - c->logits_row[seq]);
        return logits ? (int32_t)hyb_sampler_why(logits, c->forward.n_tokens, at, error)
                      : (int32_t)hyb_fail(error, HYBRID_ERROR_NUMERIC, "no next token: the logits are not numbers");
    }
    return few.id[at];
}

static int32_t hyb_sample_next(hybrid_sampler *s, hybrid_context *c, int32_t seq, int32_t i, hybrid_error *error)
{
    const int32_t row = hyb_next_row(c, seq, i, error), n = c->forward.n_tokens, k = c->forward.n_top;
    const float *logits;
    size_t lowered;
    if (row < 0) return row;
    hyb_sampler_prepare(s);
    lowered = s->n_seen + s->repeats.n_list;
    if (k && row < c->n_top && !s->mask && hyb_sampler_needs(&s->desc, s->desc.n_bias, lowered, HYB_MIN(k, n)))
        return hyb_next_of_few(s, c, seq, row, error);
    if ((logits = hybrid_logits_at(c, seq, row - c->logits_row[seq])) == NULL)
        return (int32_t)hyb_fail(error, HYBRID_ERROR_INVALID,
                                 "hybrid_sample_next: the logits of sequence %d went with the GPU, which failed: queue "
                                 "its last token again and decode",
                                 seq);
    return hyb_sample(s, logits, n, error);
}

/* From row i of the sequence's, -1: the last one. */
static int32_t hyb_sample_next_at(hybrid_sampler *s, hybrid_context *context, int32_t seq, int32_t i,
                                  hybrid_error *error)
{
    int32_t id;
    if (!s) return (int32_t)hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sample_next: sampler is NULL");
    s->failure.result = HYBRID_OK;
    id = context ? hyb_sample_next(s, context, seq, i, &s->failure)
                 : (int32_t)hyb_fail(&s->failure, HYBRID_ERROR_INVALID, "hybrid_sample_next: context is NULL");
    hyb_kept(&s->failure, error);
    return id;
}

HYB_BORDER(int32_t, hybrid_sample_next, (hybrid_sampler *s, hybrid_context *context, int32_t seq, hybrid_error *error),
           (s, context, seq, error))
{
    return hyb_sample_next_at(s, context, seq, -1, error);
}
#endif
