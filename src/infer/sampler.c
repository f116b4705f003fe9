/* infer/sampler: the chain penalties, DRY, bias, the host's function, temperature, top-n-sigma, top-k, top-p, min-p,
 * typical, XTC, mirostat, draw; and the memory of what was accepted. */
#ifndef HYB_INFER_SAMPLER_C
#define HYB_INFER_SAMPLER_C
#include "../api/sampler.h"
#include "../core/lifetime.c"
#include "../core/random.c"
#include "repeats.c"
#include "select.c"
#include "spread.c"

#define HYB_SAMPLER_MAX_LAST_N (1 << 20)
#define HYB_SAMPLER_HOST       (-1000) /* instead of a token: the host's function left none */

typedef struct hyb_seen {
    int32_t id, count;
} hyb_seen;

struct hybrid_sampler {
    hybrid_runtime *rt;
    hybrid_sampler_desc desc;
    hybrid_logit_bias *bias; /* (desc.n_bias), in order of id */
    const float *logits;     /* of the call under way, */
    const int32_t *ids;      /* and their tokens, in rising order; NULL: all tokens from 0 */
    const uint32_t *mask;    /* the caller's: tokens that may be chosen; NULL: all */
    size_t mask_words;
    int32_t *history;        /* ring of the last accepted ids (desc.penalty_last_n); NULL without penalties */
    hyb_seen *seen;          /* the same, each id once, in order of id */
    size_t n_history, n_seen;
    hyb_repeats repeats;
    double mu;             /* mirostat's bound, */
    int32_t drawn;         /* and the token drawn last, or -1, */
    double surprise;       /* with its bits */
    uint64_t position, tries; /* tokens accepted; draws since the last of them */
    double down; /* what logits are multiplied by, so that they stay in the range of floats: 1, nearly always */
    hyb_select select;
    hybrid_error failure; /* of the last call, if it chose no token */
};

/* The first index whose id is not below id; list: n structs of `stride` bytes that begin with their id, in order of id.
 */
static size_t hyb_find_id(const void *list, size_t n, size_t stride, int32_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int32_t at;
        memcpy(&at, (const char *)list + mid * stride, sizeof at);
        if (at < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* A logit that overflows becomes NaN, at which hyb_select_begin fails: a bias could still bring it back. */
static void hyb_sampler_penalize(const hybrid_sampler *s, float *l, int32_t count)
{
    const float given = *l;
    *l = *l > 0 ? *l / s->desc.repetition_penalty : *l * s->desc.repetition_penalty;
    *l -= (float)count * s->desc.frequency_penalty + s->desc.presence_penalty;
    if (!(*l > -INFINITY) && given > -INFINITY) *l = NAN;
}
static void hyb_sampler_lower(const hyb_repeat *repeat, float *l)
{
    const float given = *l;
    *l -= (float)repeat->penalty;
    if (!(*l > -INFINITY) && given > -INFINITY) *l = NAN;
}

/* Whether the mask lets a token be chosen. */
static bool hyb_sampler_allows(const hybrid_sampler *s, int32_t id)
{
    return !s->mask || ((size_t)id / 32 < s->mask_words && (s->mask[id / 32] >> id % 32 & 1));
}

/* The logits of ids first..first+n-1, with penalties and bias, those that the mask excludes at -infinity. */
static void hyb_sampler_load(const void *user, int32_t first, int32_t n, float *x)
{
    const hybrid_sampler *s = (const hybrid_sampler *)user;
    const hyb_repeats *r = &s->repeats;
    size_t i;
    memcpy(x, s->logits + first, (size_t)n * sizeof *x);
    for (i = hyb_find_id(s->seen, s->n_seen, sizeof *s->seen, first); i < s->n_seen && s->seen[i].id - first < n; i++) {
        hyb_sampler_penalize(s, x + (s->seen[i].id - first), s->seen[i].count);
    }
    for (i = hyb_find_id(r->list, r->n_list, sizeof *r->list, first); i < r->n_list && r->list[i].id - first < n; i++)
        hyb_sampler_lower(&r->list[i], x + (r->list[i].id - first));
    for (i = hyb_find_id(s->bias, s->desc.n_bias, sizeof *s->bias, first);
         i < s->desc.n_bias && s->bias[i].id - first < n; i++)
        x[s->bias[i].id - first] += s->bias[i].bias;
    for (i = 0; s->mask && i < (size_t)n; i++) {
        const size_t id = (size_t)first + i, word = id / 32;
        if (id % 32 == 0 && i + 32 <= (size_t)n && word < s->mask_words && s->mask[word] == 0xFFFFFFFFu)
            i += 31;
        else if (!hyb_sampler_allows(s, first + (int32_t)i))
            x[i] = -INFINITY;
    }
}

/* The same for logits first..first+n-1 of those of s->ids. A bias needs all tokens. */
static void hyb_sampler_load_few(const void *user, int32_t first, int32_t n, float *x)
{
    const hybrid_sampler *s = (const hybrid_sampler *)user;
    int32_t i;
    memcpy(x, s->logits + first, (size_t)n * sizeof *x);
    for (i = 0; i < n; i++) {
        const int32_t id = s->ids[first + i];
        const size_t at = hyb_find_id(s->seen, s->n_seen, sizeof *s->seen, id);
        const size_t to = hyb_find_id(s->repeats.list, s->repeats.n_list, sizeof *s->repeats.list, id);
        if (at < s->n_seen && s->seen[at].id == id) hyb_sampler_penalize(s, &x[i], s->seen[at].count);
        if (to < s->repeats.n_list && s->repeats.list[to].id == id) hyb_sampler_lower(&s->repeats.list[to], &x[i]);
    }
}

/* ---- settings so extreme that floats overflow: the same chain in double, scaled down to floats by a power of two ----
 */

/* Logit i of the call under way, with penalties and bias. Logits and settings are floats: nothing overflows here. */
static double hyb_sampler_wide(const hybrid_sampler *s, int32_t i)
{
    const int32_t id = s->ids ? s->ids[i] : i;
    const size_t seen = hyb_find_id(s->seen, s->n_seen, sizeof *s->seen, id);
    const size_t bias = hyb_find_id(s->bias, s->desc.n_bias, sizeof *s->bias, id);
    const size_t repeat = hyb_find_id(s->repeats.list, s->repeats.n_list, sizeof *s->repeats.list, id);
    double l = (double)s->logits[i];
    if (!hyb_sampler_allows(s, id)) return -INFINITY;
    if (seen < s->n_seen && s->seen[seen].id == id) {
        l = l > 0 ? l / (double)s->desc.repetition_penalty : l * (double)s->desc.repetition_penalty;
        l -= (double)s->seen[seen].count * (double)s->desc.frequency_penalty + (double)s->desc.presence_penalty;
    }
    if (repeat < s->repeats.n_list && s->repeats.list[repeat].id == id) l -= s->repeats.list[repeat].penalty;
    return !s->ids && bias < s->desc.n_bias && s->bias[bias].id == id ? l + (double)s->bias[bias].bias : l;
}

static void hyb_sampler_load_wide(const void *user, int32_t first, int32_t n, float *x)
{
    const hybrid_sampler *s = (const hybrid_sampler *)user;
    int32_t i;
    for (i = 0; i < n; i++) {
        const double l = hyb_sampler_wide(s, first + i) * s->down;
        x[i] = l < -3.4028234663852886e38 ? -INFINITY : (float)l; /* so far below the best that its weight is 0 */
    }
}

/* After hyb_select_begin has failed: the same with logits scaled down. False: the range of floats was not the reason; a
 * logit is not a number, or all are excluded. */
static bool hyb_sampler_begin_wide(hybrid_sampler *s, int32_t n)
{
    double best = -INFINITY;
    int32_t i;
    int exponent;
    for (i = 0; i < n; i++) {
        const double l = s->logits[i] < INFINITY ? hyb_sampler_wide(s, i) : NAN;
        if (!(l <= best)) best = l;
        if (best != best) return false;
    }
    if (!(best > -INFINITY)) return false;
    frexp(best, &exponent);
    s->down = ldexp(1.0, HYB_MIN(0, 64 - exponent));
    s->select.load = hyb_sampler_load_wide;
    return hyb_select_begin(&s->select, n);
}

static hybrid_result hyb_sampler_check(const hybrid_sampler_desc *d, hybrid_error *error)
{
    const struct {
        const char *name;
        double value, low, high;
    } range[] = { { "repetition_penalty", (double)d->repetition_penalty, 0, 1e6 },
                  { "frequency_penalty", (double)d->frequency_penalty, -1e6, 1e6 },
                  { "presence_penalty", (double)d->presence_penalty, -1e6, 1e6 },
                  { "penalty_last_n", (double)d->penalty_last_n, 0, HYB_SAMPLER_MAX_LAST_N },
                  { "dry_multiplier", (double)d->dry_multiplier, 0, 1e6 },
                  { "dry_base", d->dry_base == 0 ? 1 : (double)d->dry_base, 1, 1e6 },
                  { "dry_allowed_length", (double)d->dry_allowed_length, 0, HYB_SAMPLER_MAX_LAST_N },
                  { "dry_last_n", (double)d->dry_last_n, 0, HYB_SAMPLER_MAX_LAST_N },
                  { "n_function", (double)d->n_function, 0, HYB_SELECT_CANDIDATES },
                  { "temperature", (double)d->temperature, 0, 1e6 },
                  { "temperature_range", (double)d->temperature_range, 0, 1e6 },
                  { "temperature_exponent", (double)d->temperature_exponent, 0, 1e3 },
                  { "top_n_sigma", (double)d->top_n_sigma, 0, 1e6 },
                  { "top_k", (double)d->top_k, 0, 2147483647.0 },
                  { "top_p", (double)d->top_p, 0, 1 },
                  { "min_p", (double)d->min_p, 0, 1 },
                  { "typical_p", (double)d->typical_p, 0, 1 },
                  { "xtc_probability", (double)d->xtc_probability, 0, 1 },
                  { "xtc_threshold", (double)d->xtc_threshold, 0, 1 },
                  { "mirostat", (double)d->mirostat, 0, 2 },
                  { "mirostat_tau", (double)d->mirostat_tau, 0, 1e3 },
                  { "mirostat_eta", (double)d->mirostat_eta, 0, 1e3 } };
    size_t i;
    for (i = 0; i < HYB_COUNT(range); i++)
        if (!(range[i].value >= range[i].low && range[i].value <= range[i].high))
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: %s is %g, must be %g to %g",
                            range[i].name, range[i].value, range[i].low, range[i].high);
    if (d->n_bias && !d->bias)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: n_bias is not 0, but bias is NULL");
    if (d->n_dry_breakers && !d->dry_breakers)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_sampler_create: n_dry_breakers is not 0, but dry_breakers is NULL");
    return HYBRID_OK;
}

static int hyb_bias_order(const void *a, const void *b)
{
    int32_t x = ((const hybrid_logit_bias *)a)->id, y = ((const hybrid_logit_bias *)b)->id;
    return (x > y) - (x < y);
}

static hybrid_result hyb_sampler_copy_bias(hybrid_sampler *s, const hybrid_sampler_desc *d, hybrid_error *error)
{
    size_t i, bytes;
    if (!hyb_mul_size(d->n_bias, sizeof *s->bias, &bytes))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "hybrid_sampler_create: n_bias is too large");
    if (!(s->bias = (hybrid_logit_bias *)hyb_alloc(s->rt, bytes))) return hyb_fail_memory(error, bytes);
    memcpy(s->bias, d->bias, bytes);
    qsort(s->bias, d->n_bias, sizeof *s->bias, hyb_bias_order);
    for (i = 0; i < d->n_bias; i++) {
        int id = (int)s->bias[i].id;
        if (id < 0) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: a bias has the id %d", id);
        if (s->bias[i].bias != s->bias[i].bias)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: the bias of id %d is NaN", id);
        if (i && s->bias[i - 1].id == s->bias[i].id)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: two biases for id %d: give their sum",
                            id);
    }
    s->desc.n_bias = d->n_bias;
    return HYBRID_OK;
}

static hybrid_result hyb_sampler_make_history(hybrid_sampler *s, hybrid_error *error)
{
    size_t n = (size_t)s->desc.penalty_last_n;
    s->history = (int32_t *)hyb_calloc(s->rt, n, sizeof *s->history);
    s->seen = (hyb_seen *)hyb_calloc(s->rt, n, sizeof *s->seen);
    if (!s->history || !s->seen) return hyb_fail_memory(error, n * (sizeof *s->history + sizeof *s->seen));
    return HYBRID_OK;
}

static int hyb_id_order(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static hybrid_result hyb_sampler_make_repeats(hybrid_sampler *s, const hybrid_sampler_desc *d, hybrid_error *error)
{
    hyb_repeats *r = &s->repeats;
    const size_t n = (size_t)s->desc.dry_last_n;
    size_t bytes = 0;
    if (!hyb_mul_size(d->n_dry_breakers, sizeof *r->breakers, &bytes))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "hybrid_sampler_create: n_dry_breakers is too large");
    r->ring = (int32_t *)hyb_calloc(s->rt, n, sizeof *r->ring);
    r->back = (int32_t *)hyb_calloc(s->rt, n, sizeof *r->back);
    r->same = (int32_t *)hyb_calloc(s->rt, n, sizeof *r->same);
    r->list = (hyb_repeat *)hyb_calloc(s->rt, n, sizeof *r->list);
    if (!r->ring || !r->back || !r->same || !r->list) return hyb_fail_memory(error, n * 28);
    r->size = n;
    if (!d->n_dry_breakers) return HYBRID_OK;
    if (!(r->breakers = (int32_t *)hyb_alloc(s->rt, bytes))) return hyb_fail_memory(error, bytes);
    memcpy(r->breakers, d->dry_breakers, bytes);
    qsort(r->breakers, d->n_dry_breakers, sizeof *r->breakers, hyb_id_order);
    r->n_breakers = d->n_dry_breakers;
    return HYBRID_OK;
}

/* What zero stands for. */
static void hyb_sampler_defaults(hybrid_sampler_desc *d)
{
    if (d->repetition_penalty <= 0) d->repetition_penalty = 1;
    if (!d->penalty_last_n) d->penalty_last_n = 64;
    if (!(d->dry_base > 0)) d->dry_base = 1.75f;
    if (!d->dry_allowed_length) d->dry_allowed_length = 2;
    if (!d->dry_last_n) d->dry_last_n = 1024;
    if (!d->n_function) d->n_function = 256;
    if (!(d->temperature_exponent > 0)) d->temperature_exponent = 1;
    if (!(d->xtc_threshold > 0)) d->xtc_threshold = 0.1f;
    if (!(d->mirostat_tau > 0)) d->mirostat_tau = 5;
    if (!(d->mirostat_eta > 0)) d->mirostat_eta = 0.1f;
}

HYB_BORDER(hybrid_result, hybrid_sampler_create,
           (hybrid_runtime *runtime, const hybrid_sampler_desc *desc, hybrid_sampler **sampler, hybrid_error *error),
           (runtime, desc, sampler, error))
{
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!sampler) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: sampler is NULL");
    *sampler = NULL;
    memset(&d, 0, sizeof d);
    if (desc) d = *desc;
    if ((r = hyb_sampler_check(&d, error))) return r;
    hyb_sampler_defaults(&d);
    if ((r = hyb_runtime_retain(runtime, &rt, error))) return r;
    if (!(s = (hybrid_sampler *)hyb_calloc(rt, 1, sizeof *s))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *s);
    }
    s->rt = rt;
    s->desc = d;
    s->desc.bias = NULL;
    s->desc.n_bias = 0;
    s->desc.dry_breakers = NULL;
    s->desc.n_dry_breakers = 0;
    s->down = 1;
    s->mu = 2 * (double)d.mirostat_tau;
    s->drawn = -1;
    s->select.load = hyb_sampler_load;
    s->select.user = s;
    hyb_select_init(&s->select, rt->isa);
    if (d.n_bias) r = hyb_sampler_copy_bias(s, &d, error);
    if (!r && (d.repetition_penalty != 1 || d.frequency_penalty != 0 || d.presence_penalty != 0))
        r = hyb_sampler_make_history(s, error);
    if (!r && d.dry_multiplier > 0) r = hyb_sampler_make_repeats(s, &d, error);
    if (r) {
        hybrid_sampler_destroy(s);
        return r;
    }
    *sampler = s;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_sampler_destroy, (hybrid_sampler *s), (s))
{
    hybrid_runtime *rt;
    if (!s) return;
    rt = s->rt;
    hyb_free(rt, s->bias);
    hyb_free(rt, s->history);
    hyb_free(rt, s->seen);
    hyb_free(rt, s->repeats.ring);
    hyb_free(rt, s->repeats.back);
    hyb_free(rt, s->repeats.same);
    hyb_free(rt, s->repeats.list);
    hyb_free(rt, s->repeats.breakers);
    hyb_free(rt, s);
    hyb_runtime_release(rt);
}

/* All filters of the chain; what is left stands in s->select. temperature > 0. */
static void hyb_sampler_filter(hybrid_sampler *s, int32_t n_vocab)
{
    const hybrid_sampler_desc *d = &s->desc;
    double temperature = (double)d->temperature;
    if (d->temperature_range > 0)
        temperature = hyb_spread_temperature(&s->select, HYB_MAX(temperature - (double)d->temperature_range, 1e-6),
                                             temperature + (double)d->temperature_range,
                                             (double)d->temperature_exponent, s->down);
    hyb_select_temperature(&s->select, temperature * s->down);
    if (d->top_n_sigma > 0) hyb_spread_sigma(&s->select, (double)d->top_n_sigma);
    if (d->top_k > 0 && d->top_k < n_vocab) hyb_select_top(&s->select, HYB_BY_LOGIT, d->top_k);
    if (d->top_p > 0 && d->top_p < 1) hyb_select_reach(&s->select, (double)d->top_p);
    if (d->min_p > 0) hyb_select_min(&s->select, (double)d->min_p);
    if (d->typical_p > 0 && d->typical_p < 1) hyb_select_typical(&s->select, (double)d->typical_p);
    if (d->xtc_probability > 0 && d->xtc_threshold <= 0.5f &&
        hyb_random_uniform(d->seed, s->position, s->tries | (uint64_t)1 << 63) < (double)d->xtc_probability)
        hyb_spread_exclude(&s->select, (double)d->xtc_threshold);
    if (d->mirostat == 1) hyb_spread_zipf(&s->select, s->mu, (double)n_vocab);
    if (d->mirostat == 2) hyb_spread_surprise(&s->select, s->mu);
}

/* Gives the likeliest tokens to the host's function. False: it made a logit that is none, or dropped all. */
static bool hyb_sampler_call(hybrid_sampler *s, int32_t n)
{
    hyb_select *t = &s->select;
    int32_t ids[256], i;
    hyb_select_temperature(t, s->down);
    t->low = -INFINITY;
    hyb_select_top(t, HYB_BY_LOGIT, (int)HYB_MIN(s->desc.n_function, n));
    hyb_select_gather(t); /* without those that a cut leaves out */
    for (i = 0; s->ids && i < t->n_candidates; i++) ids[i] = s->ids[t->candidate_id[i]];
    for (i = 0; i < t->n_candidates && s->down < 1; i++)
        t->candidate[i] = (float)HYB_MIN(HYB_MAX((double)t->candidate[i] / s->down, -3e38), 3e38);
    s->desc.function(s->desc.function_user, s->ids ? ids : t->candidate_id, t->candidate, t->n_candidates);
    hyb_fp_plain();
    for (i = 0; i < t->n_candidates && s->down < 1; i++) t->candidate[i] = (float)((double)t->candidate[i] * s->down);
    return hyb_select_again(t);
}

/* What the accepted tokens say about the next one. */
static void hyb_sampler_prepare(hybrid_sampler *s)
{
    hyb_repeats_find(&s->repeats, (double)s->desc.dry_multiplier, (double)s->desc.dry_base, s->desc.dry_allowed_length);
}

/* Chooses among n logits: those of the tokens `ids` (rising), or of tokens 0..n-1 when ids is NULL. Returns the index.
 */
static int32_t hyb_sampler_choose(hybrid_sampler *s, const int32_t *ids, const float *logits, int32_t n)
{
    int32_t at;
    hyb_sampler_prepare(s);
    s->logits = logits;
    s->ids = ids;
    s->select.load = ids ? hyb_sampler_load_few : hyb_sampler_load;
    s->down = 1;
    if (!hyb_select_begin(&s->select, n) && !hyb_sampler_begin_wide(s, n)) return (int32_t)HYBRID_ERROR_NUMERIC;
    if (s->desc.function && !hyb_sampler_call(s, n)) return HYB_SAMPLER_HOST;
    if (s->desc.temperature <= 0) return s->select.best;
    hyb_sampler_filter(s, n);
    at = hyb_select_draw(&s->select, hyb_random_uniform(s->desc.seed, s->position, s->tries++));
    if (s->desc.mirostat) {
        s->drawn = ids ? ids[at] : at;
        s->surprise = hyb_plain_log(s->select.drawn) * -1.4426950408889634;
    }
    return at;
}

/* Why none of the n logits was chosen: a walk over all of them, which only a failure takes. */
static hybrid_result hyb_sampler_why(const float *logits, int32_t n, int32_t reason, hybrid_error *error)
{
    bool any = false;
    int32_t i;
    if (reason == HYB_SAMPLER_HOST)
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "no next token: the host's function (hybrid_sampler_desc.function) dropped all, or left a "
                        "logit that is not a number or infinite");
    for (i = 0; i < n; i++) {
        if (!(logits[i] < INFINITY))
            return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                            "no next token: the logit of token %d is %s: the weights are damaged, or beyond the range "
                            "of floats",
                            i, logits[i] > 0 ? "infinite" : "not a number");
        any = any || logits[i] > -INFINITY;
    }
    if (!any)
        return hyb_fail(
            error, HYBRID_ERROR_NUMERIC,
            "no next token: all logits are -infinite: the weights are damaged, or all tokens were excluded");
    return hyb_fail(error, HYBRID_ERROR_NUMERIC, "no next token: the sampler's bias forbids all of them");
}

/* The id, or a negative result and its sentence. */
static int32_t hyb_sample(hybrid_sampler *s, const float *logits, int32_t n, hybrid_error *error)
{
    int32_t id;
    size_t i;
    for (i = 0; i < s->desc.n_bias && s->bias[i].id < n; i++)
        if (s->bias[i].bias > 0 && s->bias[i].bias == INFINITY && hyb_sampler_allows(s, s->bias[i].id))
            return s->bias[i].id;
    id = hyb_sampler_choose(s, NULL, logits, n);
    if (id < 0 && id != HYB_SAMPLER_HOST && s->mask) {
        for (i = 0; i < (size_t)n && !(logits[i] > -INFINITY && hyb_sampler_allows(s, (int32_t)i)); i++) {}
        if (i == (size_t)n)
            return (int32_t)hyb_fail(error, HYBRID_ERROR_NUMERIC,
                                     "no next token: of the tokens that the mask allows none can be chosen");
    }
    return id >= 0 ? id : (int32_t)hyb_sampler_why(logits, n, id, error);
}

HYB_BORDER(int32_t, hybrid_sample, (hybrid_sampler *s, const float *logits, int32_t n_vocab), (s, logits, n_vocab))
{
    if (!s) return (int32_t)HYBRID_ERROR_INVALID;
    s->failure.result = HYBRID_OK;
    if (!logits)
        return (int32_t)hyb_fail(&s->failure, HYBRID_ERROR_INVALID,
                                 "hybrid_sample: logits is NULL: the sequence had no token in the last decode");
    if (n_vocab <= 0)
        return (int32_t)hyb_fail(&s->failure, HYBRID_ERROR_INVALID, "hybrid_sample: n_vocab is %d, must be at least 1",
                                 n_vocab);
    return hyb_sample(s, logits, n_vocab, &s->failure);
}

HYB_BORDER(hybrid_result, hybrid_sampler_result, (const hybrid_sampler *sampler, hybrid_error *error), (sampler, error))
{
    if (!sampler) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_result: sampler is NULL");
    return hyb_kept(&sampler->failure, error);
}

HYB_BORDER_VOID(hybrid_sampler_set_mask, (hybrid_sampler *sampler, const uint32_t *mask, size_t n_words),
                (sampler, mask, n_words))
{
    if (!sampler) return;
    sampler->mask = mask;
    sampler->mask_words = n_words;
}

/* Adds by (1 or -1) to the count of id. */
static void hyb_sampler_count(hybrid_sampler *s, int32_t id, int by)
{
    size_t at = hyb_find_id(s->seen, s->n_seen, sizeof *s->seen, id);
    hyb_seen *e = s->seen + at;
    if (at == s->n_seen || e->id != id) {
        memmove(e + 1, e, (s->n_seen - at) * sizeof *e);
        e->id = id;
        e->count = 0;
        s->n_seen++;
    }
    if ((e->count += by) == 0) {
        s->n_seen--;
        memmove(e, e + 1, (s->n_seen - at) * sizeof *e);
    }
}

HYB_BORDER_VOID(hybrid_sampler_accept, (hybrid_sampler *s, int32_t id), (s, id))
{
    if (!s || id < 0) return;
    if (s->history) {
        size_t size = (size_t)s->desc.penalty_last_n, at = (size_t)(s->position % size);
        if (s->n_history == size)
            hyb_sampler_count(s, s->history[at], -1);
        else
            s->n_history++;
        s->history[at] = id;
        hyb_sampler_count(s, id, 1);
    }
    hyb_repeats_accept(&s->repeats, id);
    if (s->desc.mirostat && id == s->drawn)
        s->mu -= (double)s->desc.mirostat_eta * (s->surprise - (double)s->desc.mirostat_tau);
    s->drawn = -1;
    s->position++;
    s->tries = 0;
}

HYB_BORDER_VOID(hybrid_sampler_reset, (hybrid_sampler *s), (s))
{
    if (!s) return;
    s->n_history = s->n_seen = 0;
    s->position = s->tries = 0;
    hyb_repeats_reset(&s->repeats);
    s->mu = 2 * (double)s->desc.mirostat_tau;
    s->drawn = -1;
    s->failure.result = HYBRID_OK;
}
#endif
