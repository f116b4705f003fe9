/* infer/sampler_saved: a sampler as bytes: its settings by their names, so that a later version reads what an earlier
 * one wrote, and where it stands in its random numbers and among the accepted tokens.
 *
 *     settings   how many (u32), and of each its name (u64 of bytes, the bytes) and value (f64); dry_breaker, with an
 *                id and 1, for every breaker; function, with 1, for what cannot be saved
 *     bias       how many (u64), and of each the id (i32) and the value (f32)
 *     state      seed, position, tries (u64 each), mu (f64), drawn (i32), surprise (f64): the last three are mirostat's
 *     history    how many (u64): the last accepted ids (i32), as many as the penalties and DRY look at */
#ifndef HYB_INFER_SAMPLER_SAVED_C
#define HYB_INFER_SAMPLER_SAVED_C
#include "../gguf/names.c"
#include "archive.c"
#include "sampler.c"

typedef struct hyb_sampler_number {
    const char *name;
    size_t at; /* in hybrid_sampler_desc */
    bool whole;
} hyb_sampler_number;

static const hyb_sampler_number *hyb_sampler_numbers(size_t *count)
{
#define HYB_NUMBER(field, whole) \
    { \
        #field, offsetof(hybrid_sampler_desc, field), whole \
    }
    static const hyb_sampler_number rows[] = { HYB_NUMBER(repetition_penalty, false),
                                               HYB_NUMBER(frequency_penalty, false),
                                               HYB_NUMBER(presence_penalty, false),
                                               HYB_NUMBER(penalty_last_n, true),
                                               HYB_NUMBER(dry_multiplier, false),
                                               HYB_NUMBER(dry_base, false),
                                               HYB_NUMBER(dry_allowed_length, true),
                                               HYB_NUMBER(dry_last_n, true),
                                               HYB_NUMBER(temperature, false),
                                               HYB_NUMBER(temperature_range, false),
                                               HYB_NUMBER(temperature_exponent, false),
                                               HYB_NUMBER(top_n_sigma, false),
                                               HYB_NUMBER(top_k, true),
                                               HYB_NUMBER(top_p, false),
                                               HYB_NUMBER(min_p, false),
                                               HYB_NUMBER(typical_p, false),
                                               HYB_NUMBER(xtc_probability, false),
                                               HYB_NUMBER(xtc_threshold, false),
                                               HYB_NUMBER(mirostat, true),
                                               HYB_NUMBER(mirostat_tau, false),
                                               HYB_NUMBER(mirostat_eta, false) };
#undef HYB_NUMBER
    *count = HYB_COUNT(rows);
    return rows;
}

static double hyb_sampler_number_of(const hyb_sampler_number *row, const hybrid_sampler_desc *d)
{
    int32_t whole;
    float value;
    if (row->whole) {
        memcpy(&whole, (const char *)d + row->at, sizeof whole);
        return whole;
    }
    memcpy(&value, (const char *)d + row->at, sizeof value);
    return (double)value;
}

/* False: it is no value that the field can have. */
static bool hyb_sampler_set_number(const hyb_sampler_number *row, hybrid_sampler_desc *d, double value)
{
    int32_t whole;
    float single;
    if (!(value >= -3.4e38 && value <= 3.4e38) || (row->whole && !(value >= 0 && value <= 2147483647.0))) return false;
    whole = row->whole ? (int32_t)value : 0;
    single = (float)value;
    memcpy((char *)d + row->at, row->whole ? (const void *)&whole : (const void *)&single, 4);
    return true;
}

static void hyb_pack_f64(hyb_pack *p, double v) { hyb_pack_bytes(p, &v, sizeof v); }
static double hyb_unpack_f64(hyb_unpack *u)
{
    const void *p = hyb_unpack_bytes(u, 8);
    double v = 0;
    if (p) memcpy(&v, p, sizeof v);
    return v;
}

static void hyb_sampler_pack_number(const char *name, double value, hyb_pack *out)
{
    hyb_pack_text(out, name, strlen(name));
    hyb_pack_f64(out, value);
}

static void hyb_sampler_pack_settings(const hybrid_sampler *s, hyb_pack *out)
{
    const hyb_repeats *repeats = &s->repeats;
    size_t n, i;
    const hyb_sampler_number *rows = hyb_sampler_numbers(&n);
    hyb_pack_u32(out, (uint32_t)(n + repeats->n_breakers + (s->desc.function != NULL)));
    for (i = 0; i < n; i++) hyb_sampler_pack_number(rows[i].name, hyb_sampler_number_of(&rows[i], &s->desc), out);
    for (i = 0; i < repeats->n_breakers; i++)
        hyb_sampler_pack_number("dry_breaker", (double)repeats->breakers[i] + 1, out);
    if (s->desc.function) hyb_sampler_pack_number("function", 1, out);
}

static void hyb_sampler_pack(const hybrid_sampler *s, hyb_pack *out)
{
    const hyb_repeats *repeats = &s->repeats;
    size_t i;
    hyb_sampler_pack_settings(s, out);
    hyb_pack_u64(out, s->desc.n_bias);
    for (i = 0; i < s->desc.n_bias; i++) {
        hyb_pack_u32(out, (uint32_t)s->bias[i].id);
        hyb_pack_f32(out, s->bias[i].bias);
    }
    hyb_pack_u64(out, s->desc.seed);
    hyb_pack_u64(out, s->position);
    hyb_pack_u64(out, s->tries);
    hyb_pack_f64(out, s->mu);
    hyb_pack_u32(out, (uint32_t)s->drawn);
    hyb_pack_f64(out, s->surprise);
    hyb_pack_u64(out, HYB_MAX(s->n_history, repeats->n));
    for (i = repeats->n; i > s->n_history; i--)
        hyb_pack_u32(out, (uint32_t)repeats->ring[(repeats->position - i) % (uint64_t)repeats->size]);
    for (i = s->n_history; i > 0; i--)
        hyb_pack_u32(out, (uint32_t)s->history[(s->position - i) % (uint64_t)s->desc.penalty_last_n]);
}

static hybrid_result hyb_sampler_damaged(hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "the saved game is damaged: what it says of a sampler makes no sense");
}

static bool hyb_sampler_is_breaker(hybrid_string name, double value)
{
    return name.size == 11 && !memcmp(name.data, "dry_breaker", 11) && value >= 1 && value <= 2147483647.0;
}

/* breakers: n_breakers of d, which point to them. */
static hybrid_result hyb_sampler_unpack_settings(hyb_unpack *u, hybrid_runtime *rt, hybrid_sampler_desc *d,
                                                 int32_t **breakers, hybrid_error *error)
{
    size_t n_rows, k;
    const hyb_sampler_number *rows = hyb_sampler_numbers(&n_rows);
    uint32_t i, n = hyb_unpack_u32(u);
    char text[64];
    if (u->bad || n > (u->n - u->at) / 16) return hyb_sampler_damaged(error);
    if (!(*breakers = (int32_t *)hyb_calloc(rt, (size_t)n + 1, sizeof **breakers)))
        return hyb_fail_memory(error, (n + 1) * sizeof **breakers);
    d->dry_breakers = *breakers;
    for (i = 0; i < n && !u->bad; i++) {
        const hybrid_string name = hyb_unpack_text(u);
        const double value = hyb_unpack_f64(u);
        for (k = 0; k < n_rows; k++)
            if (strlen(rows[k].name) == name.size && name.data && !memcmp(rows[k].name, name.data, name.size)) break;
        if (u->bad) break;
        if (hyb_sampler_is_breaker(name, value)) {
            (*breakers)[d->n_dry_breakers++] = (int32_t)(value - 1);
            continue;
        }
        if (k == n_rows && value != 0)
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                            "the saved game has a sampler with '%s', which this hybrid does not know",
                            hyb_printable(name, text));
        if (k < n_rows && !hyb_sampler_set_number(&rows[k], d, value)) return hyb_sampler_damaged(error);
    }
    return u->bad ? hyb_sampler_damaged(error) : HYBRID_OK;
}

/* The random numbers and the accepted tokens of a sampler that was just created. */
static hybrid_result hyb_sampler_unpack_state(hyb_unpack *u, hybrid_sampler *s, uint64_t position, uint64_t tries,
                                              hybrid_error *error)
{
    const double mu = hyb_unpack_f64(u);
    const int32_t drawn = (int32_t)hyb_unpack_u32(u);
    const double surprise = hyb_unpack_f64(u);
    uint64_t n = hyb_unpack_u64(u);
    if (u->bad || n > (u->n - u->at) / 4 || n > position) return hyb_sampler_damaged(error);
    s->position = position - n;
    for (; n > 0; n--) {
        const uint32_t id = hyb_unpack_u32(u);
        if (id > INT32_MAX) return hyb_sampler_damaged(error);
        hybrid_sampler_accept(s, (int32_t)id);
    }
    s->tries = tries;
    if (!s->desc.mirostat) return HYBRID_OK;
    if (!(mu > -1e9 && mu < 1e9 && surprise > -1e9 && surprise < 1e9)) return hyb_sampler_damaged(error);
    s->mu = mu;
    s->drawn = drawn;
    s->surprise = surprise;
    return HYBRID_OK;
}

static hybrid_result hyb_sampler_unpack(hyb_unpack *u, hybrid_runtime *rt, hybrid_sampler **sampler,
                                        hybrid_error *error)
{
    hybrid_sampler_desc d;
    hybrid_logit_bias *bias = NULL;
    int32_t *breakers = NULL;
    uint64_t n, i, position, tries;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    r = hyb_sampler_unpack_settings(u, rt, &d, &breakers, error);
    n = r ? 0 : hyb_unpack_u64(u);
    if (!r && (u->bad || n > (u->n - u->at) / 8)) r = hyb_sampler_damaged(error);
    if (!r && !(bias = (hybrid_logit_bias *)hyb_calloc(rt, (size_t)n, sizeof *bias)))
        r = hyb_fail_memory(error, n * sizeof *bias);
    if (r) {
        hyb_free(rt, breakers);
        return r;
    }
    for (i = 0; i < n; i++) {
        bias[i].id = (int32_t)hyb_unpack_u32(u);
        bias[i].bias = hyb_unpack_f32(u);
    }
    d.bias = bias;
    d.n_bias = (size_t)n;
    d.seed = hyb_unpack_u64(u);
    position = hyb_unpack_u64(u);
    tries = hyb_unpack_u64(u);
    r = u->bad ? hyb_sampler_damaged(error) : hybrid_sampler_create(rt, &d, sampler, error);
    hyb_free(rt, bias);
    hyb_free(rt, breakers);
    if (!r && (r = hyb_sampler_unpack_state(u, *sampler, position, tries, error)) != HYBRID_OK) {
        hybrid_sampler_destroy(*sampler);
        *sampler = NULL;
    }
    return r;
}
#endif
