/* The sampler against a slow reference that sorts everything, against transformers (tests/oracle/make_sampler.py),
 * and against chance (chi squared). */
#include "private.h"

#ifndef M_PI
    #define M_PI 3.14159265358979323846
#endif

/* ---- a generator of its own for inputs (xorshift) ---------------------------------------------------------------- */
static uint64_t rng_state = 88172645463325252u;
static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}
static double uniform(void) { return (double)(rng() >> 11) / 9007199254740992.0; }
static double normal(void) { return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform()); }
static int pick(int n) { return (int)(rng() % (uint64_t)n); }

/* ---- the slow reference ------------------------------------------------------------------------------------------ */
typedef struct item {
    float logit;
    double p, key;
    int32_t id;
} item;

static int by_logit(const void *a, const void *b)
{
    const item *x = (const item *)a, *y = (const item *)b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : (x->id > y->id) - (x->id < y->id);
}
static int by_key(const void *a, const void *b)
{
    const item *x = (const item *)a, *y = (const item *)b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->id > y->id) - (x->id < y->id);
}

static void softmax(item *list, int n, double temperature)
{
    double max = -INFINITY, sum = 0;
    int i;
    for (i = 0; i < n; i++)
        if (list[i].logit > max) max = list[i].logit;
    for (i = 0; i < n; i++) sum += list[i].p = exp((list[i].logit - max) / temperature);
    for (i = 0; i < n; i++) list[i].p /= sum;
}

/* The length of the shortest prefix that reaches part of the whole; *margin: how near another length would have
 * been. */
static int prefix(const item *list, int n, double part, double *margin)
{
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) {
        sum += list[i].p;
        if (fabs(sum - part) < *margin) *margin = fabs(sum - part);
        if (sum >= part) return i + 1;
    }
    return n;
}

/* The length of the run that ends before `at` and is what the last tokens are. */
static int run_before(const int32_t *history, int n, int at, int least)
{
    int length = 0;
    while (at - 1 - length >= least && history[at - 1 - length] == history[n - 1 - length]) length++;
    return length;
}

static int breaks(const hybrid_sampler_desc *d, int32_t id)
{
    size_t i;
    for (i = 0; i < d->n_dry_breakers && d->dry_breakers[i] != id; i++) {}
    return i < d->n_dry_breakers;
}

/* What DRY takes from the logit of a token: the longest run that was followed by it. */
static double dry(const hybrid_sampler_desc *d, const int32_t *history, int n, int32_t id)
{
    const int last = d->dry_last_n ? d->dry_last_n : 1024, least = n > last ? n - last : 0;
    const int allowed = d->dry_allowed_length ? d->dry_allowed_length : 2;
    int at, limit = 0, longest = -1;
    if (!(d->dry_multiplier > 0) || breaks(d, id)) return 0;
    while (limit < n - least && !breaks(d, history[n - 1 - limit])) limit++;
    for (at = least + 1; at < n; at++) {
        int length = run_before(history, n, at, least);
        if (length > limit) length = limit;
        if (history[at] == id && length >= allowed && length > longest) longest = length;
    }
    if (longest < 0) return 0;
    return fmin(1e30, d->dry_multiplier * pow(d->dry_base > 0 ? d->dry_base : 1.75, longest - allowed));
}

/* The host's function of these tests: some tokens out, others more likely. */
static void host(void *user, const int32_t *ids, float *logits, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++) {
        if (ids[i] % 5 == 3 && n > 1) logits[i] = i ? -INFINITY : logits[i];
        if (ids[i] % 7 == 1) logits[i] += *(const float *)user;
    }
}

static int by_id(const void *a, const void *b)
{
    const item *x = (const item *)a, *y = (const item *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The n likeliest of a sorted list through the host's function. Returns how many are left, sorted again. */
static int through_host(const hybrid_sampler_desc *d, item *list, int n)
{
    float *logits;
    int32_t *ids;
    int i, left = d->n_function ? d->n_function : 256;
    if (left > n) left = n;
    while (left > 1 && list[left - 1].logit == -INFINITY) left--;
    logits = (float *)malloc((size_t)left * sizeof *logits);
    ids = (int32_t *)malloc((size_t)left * sizeof *ids);
    qsort(list, (size_t)left, sizeof *list, by_id);
    for (i = 0; i < left; i++) {
        ids[i] = list[i].id;
        logits[i] = list[i].logit;
    }
    d->function(d->function_user, ids, logits, left);
    for (i = 0; i < left; i++) list[i].logit = logits[i];
    qsort(list, (size_t)left, sizeof *list, by_logit);
    free(logits);
    free(ids);
    return left;
}

static double dynamic(const hybrid_sampler_desc *d, item *list, int n)
{
    const double range = d->temperature_range, low = d->temperature - range;
    double entropy = 0, count = 0;
    int i;
    softmax(list, n, 1);
    for (i = 0; i < n; i++) {
        count += list[i].logit > -INFINITY;
        if (list[i].p > 0) entropy -= list[i].p * log(list[i].p);
    }
    if (count < 2) return d->temperature + range;
    return (low > 1e-6 ? low : 1e-6) + (d->temperature + range - (low > 1e-6 ? low : 1e-6)) *
                                           pow(entropy > 0 ? entropy / log(count) : 0,
                                               d->temperature_exponent > 0 ? d->temperature_exponent : 1);
}

static int sigma(const hybrid_sampler_desc *d, const item *list, int n, double *margin)
{
    double mean = 0, deviation = 0, count = 0, bound;
    int i, left = 0;
    for (i = 0; i < n; i++)
        if (list[i].logit > -INFINITY) {
            mean += list[i].logit;
            count++;
        }
    mean /= count;
    for (i = 0; i < n; i++)
        if (list[i].logit > -INFINITY) deviation += (list[i].logit - mean) * (list[i].logit - mean);
    bound = list[0].logit - d->top_n_sigma * sqrt(deviation / count);
    for (i = 0; i < n; i++) {
        if (fabs(list[i].logit - bound) < *margin) *margin = fabs(list[i].logit - bound);
        if (list[i].logit >= bound) left = i + 1;
    }
    return left;
}

/* How many of the first tokens of a sorted list XTC drops. */
static int exclude(const hybrid_sampler_desc *d, const item *list, int n, double *margin)
{
    const double part = d->xtc_threshold > 0 ? d->xtc_threshold : 0.1f;
    int i, above = 0;
    for (i = 0; i < n; i++) {
        if (fabs(list[i].p - part) < *margin) *margin = fabs(list[i].p - part);
        above += list[i].p >= part;
    }
    return above > 1 ? above - 1 : 0;
}

/* How many of the first tokens of a sorted list mirostat keeps. */
static int mirostat(const hybrid_sampler_desc *d, double mu, const item *list, int n, double n_vocab, double *margin)
{
    double top = 0, bottom = 0, s, k;
    int i, left = 0;
    if (d->mirostat == 2) {
        for (i = 0; i < n; i++) {
            if (fabs(-log2(list[i].p) - mu) < *margin) *margin = fabs(-log2(list[i].p) - mu);
            left += -log2(list[i].p) <= mu;
        }
        return left ? left : 1;
    }
    for (i = 0; i + 1 < n && i < 99; i++) {
        const double t = log((i + 2.0) / (i + 1.0));
        top += t * log(list[i].p / list[i + 1].p);
        bottom += t * t;
    }
    if (!(bottom > 0)) return n;
    s = top / bottom;
    if (s < 1e-6 || fabs(s - 1) < 1e-6) *margin = 0;
    k = pow((s - 1) * pow(2, mu) / (1 - pow(n_vocab, 1 - s)), 1 / s);
    if (fabs(k - floor(k + 0.5)) < *margin) *margin = fabs(k - floor(k + 0.5));
    return k < 1 ? 1 : k < n ? (int)k : n;
}

static double reference_mu; /* mirostat's bound in the reference */

/* probs (n): what the chain leaves. Returns the margin of its nearest decision: below 1e-8 another rounding may
 * decide otherwise. */
static double reference(const hybrid_sampler_desc *d, const int32_t *history, int n_history, const float *logits, int n,
                        double *probs)
{
    item *list = (item *)malloc((size_t)n * sizeof *list);
    int *count = (int *)calloc((size_t)n, sizeof *count), i, left = n,
        last = d->penalty_last_n ? d->penalty_last_n : 64;
    double margin = 1, entropy = 0, best, temperature = d->temperature;
    const double mu = reference_mu > 0 ? reference_mu : 2 * (d->mirostat_tau > 0 ? (double)d->mirostat_tau : 5);
    for (i = n_history > last ? n_history - last : 0; i < n_history; i++)
        if (history[i] < n) count[history[i]]++;
    for (i = 0; i < n; i++) {
        float l = logits[i], r = d->repetition_penalty > 0 ? d->repetition_penalty : 1;
        if (count[i]) {
            l = l > 0 ? l / r : l * r;
            /* not fused */
            {
                volatile float product = (float)count[i] * d->frequency_penalty;
                l = l - (product + d->presence_penalty);
            }
        }
        {
            volatile float taken = (float)dry(d, history, n_history, i);
            l -= taken;
        }
        list[i].id = i;
        list[i].logit = l;
        probs[i] = 0;
    }
    for (i = 0; i < (int)d->n_bias; i++)
        if (d->bias[i].id < n) list[d->bias[i].id].logit += d->bias[i].bias;
    qsort(list, (size_t)n, sizeof *list, by_logit);
    if (d->function) left = through_host(d, list, n);
    if (d->temperature_range > 0) temperature = dynamic(d, list, left);
    if (d->top_n_sigma > 0) left = sigma(d, list, left, &margin);
    if (d->top_k && d->top_k < left) left = d->top_k;
    softmax(list, left, temperature);
    if (d->top_p > 0 && d->top_p < 1) left = prefix(list, left, d->top_p, &margin);
    softmax(list, left, temperature);
    best = list[0].p;
    if (d->min_p > 0) {
        int keep = 0;
        for (i = 0; i < left; i++) {
            if (fabs(list[i].p / best - d->min_p) < margin) margin = fabs(list[i].p / best - d->min_p);
            if (list[i].p >= d->min_p * best) keep = i + 1;
        }
        left = keep;
    }
    softmax(list, left, temperature);
    if (d->typical_p > 0 && d->typical_p < 1) {
        for (i = 0; i < left; i++)
            if (list[i].p > 0) entropy -= list[i].p * log(list[i].p);
        for (i = 0; i < left; i++) list[i].key = list[i].p > 0 ? fabs(-log(list[i].p) - entropy) : INFINITY;
        qsort(list, (size_t)left, sizeof *list, by_key);
        for (i = 0; i + 1 < left; i++) /* tokens on both sides of the entropy, equally far but for rounding */
            if (list[i].logit != list[i + 1].logit && fabs(list[i].key - list[i + 1].key) < 1e-5 * (1 + list[i].key) &&
                margin > 1e-11)
                margin = 1e-11;
        left = prefix(list, left, d->typical_p, &margin);
        softmax(list, left, temperature);
    }
    i = 0;
    if (d->xtc_probability > 0 || d->mirostat) {
        qsort(list, (size_t)left, sizeof *list, by_logit);
        while (left > 1 && !(list[left - 1].p > 0)) left--;
        softmax(list, left, temperature);
        if (d->xtc_threshold <= 0.5f &&
            hyb_random_uniform(d->seed, (uint64_t)n_history, (uint64_t)1 << 63) < (double)d->xtc_probability)
            i = exclude(d, list, left, &margin);
        softmax(list + i, left - i, temperature);
        if (d->mirostat) left = i + mirostat(d, mu, list + i, left - i, n, &margin);
        softmax(list + i, left - i, temperature);
    }
    for (; i < left; i++) probs[list[i].id] = list[i].p;
    free(list);
    free(count);
    return margin;
}

static hybrid_sampler *make(const hybrid_sampler_desc *d)
{
    hybrid_sampler *s = NULL;
    hybrid_error e;
    hybrid_result r = hybrid_sampler_create(NULL, d, &s, &e);
    CHECK(!r, "%s", e.message);
    return s;
}

/* Compares what the chain leaves with probs (n): the largest difference. */
static double compare(hybrid_sampler *s, const float *logits, int n, const double *probs)
{
    double *got = (double *)calloc((size_t)n, sizeof *got), whole = 0, worst = 0;
    hyb_walk walk;
    int i, m;
    s->logits = logits;
    hyb_sampler_prepare(s);
    if (!hyb_select_begin(&s->select, n) || (s->desc.function && !hyb_sampler_call(s, n))) {
        free(got);
        return 9;
    }
    hyb_sampler_filter(s, n);
    for (hyb_walk_begin(&s->select, &walk); hyb_select_next(&s->select, &walk, &m);)
        for (i = 0; i < m; i++) whole += got[s->select.id[i]] = hyb_select_weight(&s->select, s->select.x[i]);
    for (i = 0; i < n; i++) {
        double d = fabs(got[i] / whole - probs[i]);
        if ((got[i] > 0) != (probs[i] > 0) && probs[i] > 1e-20) d = 8; /* one has it, the other not */
        if (got[i] > 0 && !(probs[i] > 0)) d = 8;
        if (d > worst) worst = d;
    }
    free(got);
    return worst;
}

static void random_logits(float *x, int n, int kind)
{
    int i;
    double scale = 0.5 + 4 * uniform(), shift = 20 * normal();
    for (i = 0; i < n; i++) {
        double v = normal() * scale;
        if (kind == 1) v = floor(v * 2) / 2; /* many ties */
        if (kind == 2) v = 0;                /* all equal */
        if (kind == 3 && uniform() < 0.5) v = -INFINITY;
        if (kind == 4) v = i == n / 2 ? 30 : v; /* one is certain */
        x[i] = (float)(v + (kind == 5 ? 0 : shift));
    }
    if (kind == 3) x[pick(n)] = (float)shift;
}

static void test_reference(void)
{
    static const int sizes[] = { 1, 2, 3, 17, 151, 511, 512, 513, 2049, 6000, 30000 };
    int round, near = 0, done = 0, i, k;
    TEST("against a slow reference");
    for (round = 0; round < 2000; round++) {
        int n = sizes[pick(round % 5 ? 9 : 11)], n_history = pick(40), kind = pick(6);
        float *logits = (float *)malloc((size_t)n * sizeof *logits);
        double *probs = (double *)malloc((size_t)n * sizeof *probs), margin, worst, u, sum;
        int32_t history[300], breakers[2], id;
        float raise = (float)normal();
        hybrid_logit_bias bias[4];
        hybrid_sampler_desc d;
        hybrid_sampler *s;
        memset(&d, 0, sizeof d);
        if (!pick(4)) {
            d.dry_multiplier = (float)uniform();
            d.dry_base = pick(2) ? 0 : (float)(1 + uniform());
            d.dry_allowed_length = pick(4);
            d.dry_last_n = pick(2) ? 0 : 1 + pick(200);
            d.n_dry_breakers = (size_t)pick(3);
            d.dry_breakers = breakers;
            for (i = 0; i < 2; i++) breakers[i] = pick(5) % n;
            n_history = pick(300);
        }
        if (!pick(6)) {
            d.function = host;
            d.function_user = &raise;
            d.n_function = pick(2) ? 0 : 1 + pick(2048);
        }
        if (!pick(4)) {
            d.temperature_range = (float)uniform();
            d.temperature_exponent = pick(2) ? 0 : (float)(2 * uniform());
        }
        if (!pick(4)) d.top_n_sigma = (float)(0.2 + 2 * uniform());
        if (!pick(4)) {
            d.xtc_probability = pick(2) ? 1 : (float)uniform();
            d.xtc_threshold = pick(2) ? 0 : (float)(0.6 * uniform());
        }
        if (!pick(4)) {
            d.mirostat = 1 + pick(2);
            d.mirostat_tau = pick(2) ? 0 : (float)(6 * uniform());
        }
        d.temperature = pick(4) ? (float)(0.1 + 2 * uniform()) : 1;
        if (!pick(2)) d.top_k = 1 + pick(pick(2) ? 50 : 2 * n);
        if (!pick(2)) d.top_p = (float)uniform();
        if (!pick(3)) d.min_p = (float)(pick(2) ? 0.1 * uniform() : uniform());
        if (!pick(4)) d.typical_p = (float)uniform();
        if (!pick(2)) {
            d.repetition_penalty = (float)(0.7 + uniform());
            d.penalty_last_n = pick(50);
        }
        if (!pick(3)) d.frequency_penalty = (float)normal();
        if (!pick(3)) d.presence_penalty = (float)normal();
        if (!pick(3)) {
            d.n_bias = 4;
            d.bias = bias;
            for (i = 0; i < 4; i++) {
                bias[i].id = pick(2) ? i * n / 4 + i : 3 * n + i;
                bias[i].bias = (float)(3 * normal());
            }
            for (i = 0; i < 4; i++)
                for (k = 0; k < i; k++)
                    if (bias[i].id == bias[k].id) bias[i].id = 5 * n + i;
        }
        d.seed = (uint64_t)round;
        random_logits(logits, n, kind);
        s = make(&d);
        for (i = 0; i < n_history; i++) hybrid_sampler_accept(s, history[i] = pick(3) ? pick(n) : pick(5) % n);
        margin = reference(&d, history, n_history, logits, n, probs);
        if (margin < 1e-8)
            near++;
        else {
            worst = compare(s, logits, n, probs);
            CHECK(worst < 1e-8,
                  "round %d: n %d kind %d T %g k %d p %g min %g typical %g range %g sigma %g xtc %g of %g mirostat %d "
                  "(%g) function %d dry %g: differs by %g (margin %g)",
                  round, n, kind, (double)d.temperature, d.top_k, (double)d.top_p, (double)d.min_p, (double)d.typical_p,
                  (double)d.temperature_range, (double)d.top_n_sigma, (double)d.xtc_threshold,
                  (double)d.xtc_probability, d.mirostat, (double)d.mirostat_tau, d.function ? d.n_function : -1,
                  (double)d.dry_multiplier, worst, margin);
            /* the very token that the random number stands for, in order of id */
            u = hyb_random_uniform(d.seed, (uint64_t)n_history, 0);
            id = hybrid_sample(s, logits, n);
            for (sum = 0, i = 0; i < id; i++) sum += probs[i];
            CHECK(id >= 0, "round %d: u %.12f drew %d, which owns %.12f + %.12f", round, u, (int)id, sum,
                  id >= 0 && id < n ? probs[id] : -1.0);
            CHECK(id < n, "round %d: u %.12f drew %d, which owns %.12f + %.12f", round, u, (int)id, sum,
                  id >= 0 && id < n ? probs[id] : -1.0);
            CHECK(probs[id] > 0, "round %d: u %.12f drew %d, which owns %.12f + %.12f", round, u, (int)id, sum,
                  id >= 0 && id < n ? probs[id] : -1.0);
            CHECK(u > sum - 1e-9, "round %d: u %.12f drew %d, which owns %.12f + %.12f", round, u, (int)id, sum,
                  id >= 0 && id < n ? probs[id] : -1.0);
            CHECK(u < sum + probs[id] + 1e-9, "round %d: u %.12f drew %d, which owns %.12f + %.12f", round, u, (int)id,
                  sum, id >= 0 && id < n ? probs[id] : -1.0);
            done++;
        }
        hybrid_sampler_destroy(s);
        free(probs);
        free(logits);
    }
    CHECK(done > 1500, "only %d of 2000 rounds could be decided (%d near a tie)", done, near);
}

static void test_transformers(void)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_error e;
    int n, cases = 0;
    TEST("against transformers");
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/sampler.gguf";
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e), "%s (run from the repository's root)", e.message);
    for (n = 0; g; n++) {
        float settings[6], logits[151], probs[151], history[64], bias[32];
        static const char *const parts[5] = { "settings", "logits", "probs", "history", "bias" };
        float *to[5];
        uint64_t size[5] = { 0, 0, 0, 0, 0 };
        size_t room[5] = { sizeof settings, sizeof logits, sizeof probs, sizeof history, sizeof bias };
        double want[151], worst;
        hybrid_logit_bias list[16];
        hybrid_sampler_desc d;
        hybrid_sampler *s;
        int i;
        to[0] = settings;
        to[1] = logits;
        to[2] = probs;
        to[3] = history;
        to[4] = bias;
        for (i = 0; i < 5; i++) {
            char name[32];
            const hybrid_gguf_tensor *t;
            snprintf(name, sizeof name, "%d.%s", n, parts[i]);
            if (!(t = hybrid_gguf_find_tensor(g, name))) continue;
            CHECK(t->size <= room[i] && !hybrid_gguf_read_tensor(g, t, to[i], &e), "%s", name);
            size[i] = t->size / 4;
        }
        if (!size[0]) break;
        memset(&d, 0, sizeof d);
        d.repetition_penalty = settings[0];
        d.temperature = settings[1];
        d.top_k = (int)settings[2];
        d.top_p = settings[3];
        d.min_p = settings[4];
        d.typical_p = settings[5];
        d.n_bias = (size_t)size[4] / 2;
        d.bias = list;
        for (i = 0; i < (int)d.n_bias; i++) {
            list[i].id = (int32_t)bias[2 * i];
            list[i].bias = bias[2 * i + 1];
        }
        s = make(&d);
        for (i = 0; i < (int)size[3]; i++) hybrid_sampler_accept(s, (int32_t)history[i]);
        for (i = 0; i < 151; i++) want[i] = (double)probs[i];
        worst = compare(s, logits, 151, want);
        CHECK(worst < 2e-6, "case %d differs by %g", n, worst);
        hybrid_sampler_destroy(s);
        cases++;
    }
    CHECK(cases == 19, "%d cases", cases);
    hybrid_gguf_destroy(g);
}

/* The tensor N.part of the vectors into to (room floats). Returns its number of values, 0: it is absent. */
static int vector_part(hybrid_gguf *g, int n, const char *part, float *to, size_t room)
{
    char name[32];
    const hybrid_gguf_tensor *t;
    hybrid_error e;
    snprintf(name, sizeof name, "%d.%s", n, part);
    if (!(t = hybrid_gguf_find_tensor(g, name))) return 0;
    CHECK(t->size <= 4 * room && !hybrid_gguf_read_tensor(g, t, to, &e), "%s", name);
    return (int)(t->size / 4);
}

static void test_llama(void)
{
    enum { N = 300 };
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_error e;
    int n, cases = 0;
    TEST("against llama.cpp");
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/sampler_llama.gguf";
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e), "%s (run from the repository's root)", e.message);
    for (n = 0; g; n++) {
        float settings[12], logits[N], probs[N], history[N], list[64];
        int32_t breakers[64];
        double want[N], worst;
        hybrid_sampler_desc d;
        hybrid_sampler *s;
        int i, n_history;
        if (!vector_part(g, n, "settings", settings, 12)) break;
        memset(&d, 0, sizeof d);
        d.dry_multiplier = settings[0];
        d.dry_base = settings[1];
        d.dry_allowed_length = (int32_t)settings[2];
        d.dry_last_n = (int32_t)settings[3];
        d.temperature = settings[4];
        d.temperature_range = settings[5];
        d.temperature_exponent = settings[6];
        d.top_n_sigma = settings[7];
        d.xtc_probability = settings[8];
        d.xtc_threshold = settings[9];
        d.mirostat = (int32_t)settings[10];
        d.mirostat_tau = settings[11];
        d.dry_breakers = breakers;
        d.n_dry_breakers = (size_t)vector_part(g, n, "breakers", list, 64);
        for (i = 0; i < (int)d.n_dry_breakers; i++) breakers[i] = (int32_t)list[i];
        n_history = vector_part(g, n, "history", history, N);
        vector_part(g, n, "logits", logits, N);
        vector_part(g, n, "probs", probs, N);
        s = make(&d);
        for (i = 0; i < n_history; i++) hybrid_sampler_accept(s, (int32_t)history[i]);
        for (i = 0; i < N; i++) want[i] = (double)probs[i];
        worst = compare(s, logits, N, want);
        CHECK(worst < 5e-6, "case %d differs by %g", n, worst);
        if (d.dry_multiplier > 0) CHECK(s->repeats.n_list > 0, "case %d: nothing is repeated", n);
        hybrid_sampler_destroy(s);
        cases++;
    }
    CHECK(cases == 22, "%d cases", cases);
    hybrid_gguf_destroy(g);
}

/* Mirostat's bound over 150 tokens, against the reference. A token that was not drawn teaches nothing. */
static void test_mirostat(void)
{
    float logits[400];
    double probs[400], mu;
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    int version, i, near;
    TEST("mirostat's bound");
    for (version = 1; version <= 2; version++) {
        memset(&d, 0, sizeof d);
        d.temperature = 1;
        d.mirostat = version;
        d.mirostat_tau = 2.5f;
        d.seed = 5;
        s = make(&d);
        mu = 2 * (double)d.mirostat_tau;
        for (i = near = 0; i < 150 && !near; i++) {
            int32_t id;
            random_logits(logits, 400, 0);
            reference_mu = mu;
            near = reference(&d, NULL, 0, logits, 400, probs) < 1e-8;
            if (near) break;
            id = hybrid_sample(s, logits, 400);
            CHECK(id >= 0 && probs[id] > 0, "version %d, token %d: %d is out", version, i, (int)id);
            if (i % 10 == 7) {
                hybrid_sampler_accept(s, (id + 1) % 400);
                CHECK(fabs(s->mu - mu) < 1e-6, "version %d: learnt from a token that was not drawn", version);
                continue;
            }
            mu -= (double)0.1f * (-log2(probs[id]) - (double)d.mirostat_tau);
            hybrid_sampler_accept(s, id);
            CHECK(fabs(s->mu - mu) < 1e-6, "version %d, token %d: mu %g, must be %g", version, i, s->mu, mu);
            mu = s->mu;
        }
        CHECK(i > 100, "version %d: only %d tokens could be decided", version, i);
        hybrid_sampler_reset(s);
        CHECK(s->mu == 5, "a reset forgets: mu %g", s->mu);
        hybrid_sampler_destroy(s);
    }
    reference_mu = 0;
}

static void host_drops(void *user, const int32_t *ids, float *logits, int32_t n)
{
    const int kind = *(const int *)user;
    int32_t i;
    for (i = 0; i < n; i++) logits[i] = kind == 0 ? -INFINITY : kind == 1 ? NAN : kind == 2 ? INFINITY : logits[i];
    if (kind == 3) logits[0] = 100;
    if (kind == 4) CHECK(n == 3 && ids[0] == 1 && ids[1] == 4 && ids[2] == 6, "%d tokens, %d first", n, ids[0]);
}

static void test_host(void)
{
    const float logits[8] = { 0, 5, 1, 2, 6, 3, 4, -9 };
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    hybrid_error e;
    int kind, greedy;
    TEST("the host's function");
    for (greedy = 0; greedy < 2; greedy++)
        for (kind = 0; kind < 5; kind++) {
            int32_t id;
            memset(&d, 0, sizeof d);
            d.temperature = greedy ? 0 : 0.01f;
            d.function = host_drops;
            d.function_user = &kind;
            d.n_function = 3;
            s = make(&d);
            id = hybrid_sample(s, logits, 8);
            if (kind < 3) {
                CHECK(id == HYBRID_ERROR_NUMERIC, "kind %d: %d", kind, (int)id);
                CHECK(hybrid_sampler_result(s, &e) == HYBRID_ERROR_NUMERIC && strstr(e.message, "the host's function"),
                      "%s", e.message);
            } else
                CHECK(id == (kind == 3 ? 1 : 4), "kind %d: %d", kind, (int)id);
            hybrid_sampler_destroy(s);
        }
}

/* Pearson's statistic of n draws against probs, bins of less than 5 expected taken together; the bound is its 1e-4
 * quantile (Wilson-Hilferty).
 * The seeds are fixed, so this either always passes or always fails. */
static void chi_squared(hybrid_sampler_desc d, const float *logits, int n_vocab, const char *what)
{
    const int n_draws = getenv("HYBRID_SANITIZER") ? 2000 : 20000; /* what they come to is seen without one */
    double *probs = (double *)malloc((size_t)n_vocab * sizeof *probs), statistic = 0, rest = 0, limit;
    int *count = (int *)calloc((size_t)n_vocab, sizeof *count), i, bins = 0, rest_count = 0, outside = 0;
    hybrid_sampler *s = make(&d);
    reference(&d, NULL, 0, logits, n_vocab, probs);
    for (i = 0; i < n_draws; i++) {
        int32_t id = hybrid_sample(s, logits, n_vocab);
        if (id < 0 || id >= n_vocab || probs[id] <= 0) {
            outside++;
            continue;
        }
        count[id]++;
        hybrid_sampler_accept(s, id);
    }
    CHECK(!outside, "%s: %d draws of excluded tokens", what, outside);
    for (i = 0; i < n_vocab; i++) {
        double expected = probs[i] * n_draws;
        if (expected < 5) {
            rest += expected;
            rest_count += count[i];
            continue;
        }
        statistic += (count[i] - expected) * (count[i] - expected) / expected;
        bins++;
    }
    if (rest > 5) {
        statistic += (rest_count - rest) * (rest_count - rest) / rest;
        bins++;
    }
    bins = bins > 1 ? bins - 1 : 1;
    limit = 1 - 2.0 / (9 * bins) + 3.719 * sqrt(2.0 / (9 * bins));
    limit = bins * limit * limit * limit;
    CHECK(statistic < limit, "%s: chi squared %.1f with %d degrees of freedom, at most %.1f", what, statistic, bins,
          limit);
    hybrid_sampler_destroy(s);
    free(count);
    free(probs);
}

static void test_chance(void)
{
    float logits[3000];
    hybrid_sampler_desc d, zero;
    TEST("chi squared");
    memset(&zero, 0, sizeof zero);
    rng_state = 12345;
    random_logits(logits, 3000, 5);
    d = zero;
    d.temperature = 1;
    d.seed = 1;
    chi_squared(d, logits, 40, "temperature 1");
    d.temperature = 0.6f;
    d.seed = 2;
    chi_squared(d, logits, 3000, "temperature 0.6, 3000 tokens");
    d.top_k = 10;
    d.seed = 3;
    chi_squared(d, logits, 3000, "top-k");
    d = zero;
    d.temperature = 1.5f;
    d.top_p = 0.8f;
    d.seed = 4;
    chi_squared(d, logits, 500, "top-p");
    d = zero;
    d.temperature = 1;
    d.min_p = 0.02f;
    d.seed = 5;
    chi_squared(d, logits, 3000, "min-p");
    d = zero;
    d.temperature = 1;
    d.typical_p = 0.7f;
    d.seed = 6;
    chi_squared(d, logits, 500, "typical");
    d = zero;
    d.temperature = 1.2f;
    d.top_k = 100;
    d.top_p = 0.9f;
    d.min_p = 0.01f;
    d.seed = UINT64_MAX;
    chi_squared(d, logits, 3000, "top-k, top-p, min-p");
    random_logits(logits, 3000, 2);
    d = zero;
    d.temperature = 1;
    d.seed = 7;
    chi_squared(d, logits, 1000, "all equal");
}

static void test_penalties(void)
{
    float logits[4] = { 2.0f, 1.5f, -1.0f, -1.1f };
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    int i;
    TEST("penalties");
    memset(&d, 0, sizeof d);
    d.repetition_penalty = 1.2f;
    s = make(&d);
    for (i = 0; i < 50; i++) hybrid_sampler_accept(s, 0);
    CHECK(hybrid_sample(s, logits, 4) == 0, "2 / 1.2 is still above 1.5: a repetition penalty does not compound");
    hybrid_sampler_reset(s);
    hybrid_sampler_accept(s, 2);
    CHECK(hybrid_sample(s, logits + 2, 2) == 0, "id 2 is not in a vocabulary of 2");
    hybrid_sampler_accept(s, 0);
    CHECK(hybrid_sample(s, logits + 2, 2) == 1, "-1 * 1.2 is below -1.1: a negative logit is multiplied");
    hybrid_sampler_destroy(s);

    d.repetition_penalty = 0;
    d.presence_penalty = 0.4f;
    s = make(&d);
    for (i = 0; i < 50; i++) hybrid_sampler_accept(s, 0);
    CHECK(hybrid_sample(s, logits, 4) == 0, "presence counts once: 2 - 0.4 > 1.5");
    hybrid_sampler_destroy(s);

    d.presence_penalty = 0;
    d.frequency_penalty = 0.2f;
    d.penalty_last_n = 5;
    s = make(&d);
    for (i = 0; i < 2; i++) hybrid_sampler_accept(s, 0);
    CHECK(hybrid_sample(s, logits, 4) == 0, "2 - 2 * 0.2 > 1.5");
    hybrid_sampler_accept(s, 0);
    CHECK(hybrid_sample(s, logits, 4) == 1, "2 - 3 * 0.2 < 1.5");
    for (i = 0; i < 3; i++) hybrid_sampler_accept(s, 3);
    CHECK(hybrid_sample(s, logits, 4) == 0, "one of the three left the window of 5");
    CHECK(s->n_seen == 2, "%d seen", (int)s->n_seen);
    CHECK(s->seen[0].id == 0, "%d seen", (int)s->n_seen);
    CHECK(s->seen[0].count == 2, "%d seen", (int)s->n_seen);
    CHECK(s->seen[1].count == 3, "%d seen", (int)s->n_seen);
    hybrid_sampler_accept(s, -1);
    CHECK(s->position == 6, "a negative id is ignored");
    for (i = 0; i < 100000; i++) hybrid_sampler_accept(s, pick(7));
    for (i = 0; i < (int)s->n_seen; i++)
        CHECK(s->seen[i].count > 0 && (!i || s->seen[i].id > s->seen[i - 1].id), "order of ids");
    hybrid_sampler_reset(s);
    CHECK(hybrid_sample(s, logits, 4) == 0, "a reset forgets");
    hybrid_sampler_destroy(s);
}

static void test_bias(void)
{
    float logits[5] = { 1, 2, 3, 4, 5 };
    hybrid_logit_bias bias[3] = { { 4, -INFINITY }, { 3, -1.5f }, { 9, INFINITY } };
    hybrid_sampler_desc d;
    hybrid_sampler *s = NULL;
    hybrid_error e;
    int i;
    TEST("bias");
    memset(&d, 0, sizeof d);
    d.bias = bias;
    d.n_bias = 3;
    s = make(&d);
    CHECK(hybrid_sample(s, logits, 5) == 2, "4 is forbidden, 3 lowered, 9 not there");
    hybrid_sampler_destroy(s);
    d.temperature = 1e6f;
    s = make(&d);
    for (i = 0; i < 1000; i++) CHECK(hybrid_sample(s, logits, 5) != 4, "a forbidden token was drawn");
    hybrid_sampler_destroy(s);
    bias[2].id = 0;
    s = make(&d);
    for (i = 0; i < 100; i++) CHECK(hybrid_sample(s, logits, 5) == 0, "a forced token was not drawn");
    hybrid_sampler_destroy(s);
    bias[2].id = 3;
    CHECK(hybrid_sampler_create(NULL, &d, &s, &e) == HYBRID_ERROR_INVALID, "two biases for one id");
    CHECK(!s, "two biases for one id");
    CHECK(strstr(e.message, "id 3"), "two biases for one id");
    bias[2].id = -3;
    CHECK(hybrid_sampler_create(NULL, &d, &s, &e) == HYBRID_ERROR_INVALID && !s, "a negative id");
    bias[2].id = 1;
    bias[2].bias = NAN;
    CHECK(hybrid_sampler_create(NULL, &d, &s, &e) == HYBRID_ERROR_INVALID && !s, "a bias of NaN");
    d.bias = NULL;
    CHECK(hybrid_sampler_create(NULL, &d, &s, &e) == HYBRID_ERROR_INVALID && !s, "no list");
}

static void test_edges(void)
{
    float logits[600];
    hybrid_sampler_desc d;
    hybrid_sampler *s, *t;
    int i, same = 0, other = 0;
    TEST("edges");
    memset(&d, 0, sizeof d);
    for (i = 0; i < 600; i++) logits[i] = 1;
    s = make(NULL);
    CHECK(hybrid_sample(s, logits, 600) == 0, "greedy takes the lowest id of equals");
    logits[599] = logits[555] = 2;
    CHECK(hybrid_sample(s, logits, 600) == 555, "in a later chunk too");
    CHECK(hybrid_sample(s, logits, 1) == 0 && hybrid_sample(s, logits, 0) == HYBRID_ERROR_INVALID, "n_vocab 1 and 0");
    CHECK(hybrid_sample(s, NULL, 600) == HYBRID_ERROR_INVALID &&
              hybrid_sample(NULL, logits, 600) == HYBRID_ERROR_INVALID,
          "NULL");
    logits[0] = -0.0f;
    logits[1] = 0.0f;
    CHECK(hybrid_sample(s, logits, 2) == 0, "-0 equals 0");
    logits[0] = -3e38f;
    logits[1] = 3e38f;
    CHECK(hybrid_sample(s, logits, 2) == 1, "extreme logits");
    hybrid_sampler_destroy(s);

    d.temperature = 1;
    d.top_p = 0.5f;
    s = make(&d);
    CHECK(hybrid_sample(s, logits, 2) == 1, "extreme logits, drawn");
    CHECK(hybrid_sample(s, logits, 1) == 0, "one token, drawn");
    logits[0] = 1;
    for (i = 0; i < 3; i++) {
        static const float bad[3] = { NAN, INFINITY, -INFINITY };
        float one[700];
        int k;
        for (k = 0; k < 700; k++) one[k] = i == 2 ? -INFINITY : (float)(k % 7);
        one[650] = bad[i];
        CHECK(hybrid_sample(s, one, 700) == HYBRID_ERROR_NUMERIC, "%g", (double)bad[i]);
        one[650] = 3;
        CHECK(hybrid_sample(s, one, 700) >= 0, "usable afterwards");
        one[0] = bad[i];
        CHECK((hybrid_sample(s, one, 700) >= 0) == (i == 2), "%g in front", (double)bad[i]);
    }
    hybrid_sampler_destroy(s);

    d.top_p = 0;
    d.top_k = 3; /* of equals the lowest ids */
    for (i = 0; i < 600; i++) logits[i] = i == 70 ? 3 : 2;
    s = make(&d);
    for (i = 0; i < 1000; i++) {
        int32_t id = hybrid_sample(s, logits, 600);
        CHECK(id == 0 || id == 1 || id == 70, "top-k of ties drew %d", (int)id);
    }
    hybrid_sampler_destroy(s);

    d.top_k = 1;
    logits[0] = -0.0f;
    logits[1] = 0.0f;
    s = make(&d);
    CHECK(hybrid_sample(s, logits, 2) == 0, "top-k: -0 equals 0");
    hybrid_sampler_destroy(s);

    TEST("random numbers");
    d.top_k = 0;
    d.temperature = 2;
    random_logits(logits, 600, 5);
    s = make(&d);
    t = make(&d);
    for (i = 0; i < 200; i++) {
        int32_t a = hybrid_sample(s, logits, 600), b = hybrid_sample(t, logits, 600);
        same += a == b;
        other += hybrid_sample(t, logits, 600) == a; /* a second try at the same position */
        hybrid_sampler_accept(s, a);
        hybrid_sampler_accept(t, b);
    }
    CHECK(same == 200, "the same seed: %d of 200 equal", same);
    CHECK(other < 100, "a second try is another draw: %d of 200 equal", other);
    hybrid_sampler_reset(s);
    hybrid_sampler_destroy(t);
    d.seed = 1;
    t = make(&d);
    for (same = 0, i = 0; i < 200; i++) {
        int32_t a = hybrid_sample(s, logits, 600), b = hybrid_sample(t, logits, 600);
        same += a == b;
        hybrid_sampler_accept(s, a);
        hybrid_sampler_accept(t, b);
    }
    CHECK(same < 100, "another seed: %d of 200 equal", same);
    hybrid_sampler_destroy(s);
    hybrid_sampler_destroy(t);

    { /* the same tokens on every machine and with every compiler: a hash of 500, made with gcc 12 on x86-64 */
        uint64_t hash = 1469598103934665603u;
        d.seed = 42;
        d.top_k = 40;
        d.top_p = 0.95f;
        d.min_p = 0.05f;
        d.repetition_penalty = 1.1f;
        for (i = 0; i < 600; i++) logits[i] = (float)((i * 7919) % 601) / 50 - 3;
        s = make(&d);
        for (i = 0; i < 500; i++) {
            int32_t id = hybrid_sample(s, logits, 600);
            hash = (hash ^ (uint64_t)id) * 1099511628211u;
            hybrid_sampler_accept(s, id);
        }
        CHECK(hash == 0x03440fa0d29ec568u, "hash %016llx", (unsigned long long)hash);
        hybrid_sampler_destroy(s);
    }
}

static void test_settings(void)
{
    /* clang-format off */
    static const struct {
        int field;
        float value;
        const char *name;
    } bad[] = {
        { 0, -1, "temperature" }, { 0, NAN, "temperature" }, { 1, -0.1f, "top_p" }, { 1, 1.5f, "top_p" },
        { 2, -1, "min_p" }, { 2, NAN, "min_p" },
        { 3, 2, "typical_p" }, { 4, -1, "repetition_penalty" }, { 5, INFINITY, "frequency_penalty" },
        { 6, NAN, "presence_penalty" },
        { 9, -1, "dry_multiplier" }, { 10, 0.5f, "dry_base" }, { 11, -1, "dry_allowed_length" },
        { 12, 2e6f, "dry_last_n" },
        { 13, 4000, "n_function" }, { 14, -1, "temperature_range" }, { 15, NAN, "temperature_exponent" },
        { 16, -1, "top_n_sigma" }, { 17, 1.5f, "xtc_probability" }, { 18, -1, "xtc_threshold" }, { 19, 3, "mirostat" },
        { 20, INFINITY, "mirostat_tau" }, { 21, -1, "mirostat_eta" },
        { 7, -1, "top_k" }, { 8, -1, "penalty_last_n" }, { 8, 2e6f, "penalty_last_n" }
    };
    /* clang-format on */
    size_t i;
    hybrid_error e;
    TEST("settings out of range");
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        hybrid_sampler_desc d;
        hybrid_sampler *s = NULL;
        float v = bad[i].value;
        memset(&d, 0, sizeof d);
        switch (bad[i].field) {
        case 0: d.temperature = v; break;
        case 1: d.top_p = v; break;
        case 2: d.min_p = v; break;
        case 3: d.typical_p = v; break;
        case 4: d.repetition_penalty = v; break;
        case 5: d.frequency_penalty = v; break;
        case 6: d.presence_penalty = v; break;
        case 7: d.top_k = (int)v; break;
        case 9: d.dry_multiplier = v; break;
        case 10: d.dry_base = v; break;
        case 11: d.dry_allowed_length = (int)v; break;
        case 12: d.dry_last_n = (int)v; break;
        case 13: d.n_function = (int)v; break;
        case 14: d.temperature_range = v; break;
        case 15: d.temperature_exponent = v; break;
        case 16: d.top_n_sigma = v; break;
        case 17: d.xtc_probability = v; break;
        case 18: d.xtc_threshold = v; break;
        case 19: d.mirostat = (int)v; break;
        case 20: d.mirostat_tau = v; break;
        case 21: d.mirostat_eta = v; break;
        default: d.penalty_last_n = (int)v; break;
        }
        e.message[0] = 0;
        CHECK(hybrid_sampler_create(NULL, &d, &s, &e) == HYBRID_ERROR_INVALID, "%s %g: %s", bad[i].name, (double)v,
              e.message);
        CHECK(!s, "%s %g: %s", bad[i].name, (double)v, e.message);
        CHECK(strstr(e.message, bad[i].name), "%s %g: %s", bad[i].name, (double)v, e.message);
    }
    CHECK(hybrid_sampler_create(NULL, NULL, NULL, &e) == HYBRID_ERROR_INVALID, "no place for the result");
    hybrid_sampler_destroy(NULL);
    hybrid_sampler_reset(NULL);
    hybrid_sampler_accept(NULL, 1);
}

/* ---- hostile settings on hostile logits: a token of the right set, or NUMERIC where there is none ---------------- */
enum { HOSTILE_IDS = 700 };

static const float hostile_values[] = {
    0, -0.0f, 1, 3, -2, 1e-45f, -1e-45f, 3e38f, -3e38f, 3.4028235e38f, -3.4028235e38f, 1e30f, -INFINITY
};

/* kind: 0 all -inf, 1 one of them not, 2 equal, 3 all huge and negative, 4 all huge and near each other, 5 with a
 * NaN, 6 with an infinite one, else anything. */
static void hostile_logits(float *x, int n, int kind)
{
    const int some = (int)(sizeof hostile_values / sizeof *hostile_values);
    int i;
    for (i = 0; i < n; i++) {
        if (kind <= 1)
            x[i] = -INFINITY;
        else if (kind == 2)
            x[i] = 2;
        else if (kind == 3)
            x[i] = -3e38f - (float)(i % 5) * 1e37f;
        else if (kind == 4)
            x[i] = 3e38f + (float)(i % 7) * 1e36f;
        else
            x[i] = hostile_values[pick(some)];
    }
    if (kind == 1) x[pick(n)] = hostile_values[pick(some - 1)];
    if (kind == 5) x[pick(n)] = NAN;
    if (kind == 6) x[pick(n)] = INFINITY;
}

static double hostile_reference(const hybrid_sampler_desc *d, const float *x, int32_t id, const int *counts)
{
    const double rep = d->repetition_penalty > 0 ? (double)d->repetition_penalty : 1;
    double l = (double)x[id];
    size_t i;
    if (counts[id])
        l = (l > 0 ? l / rep : l * rep) - counts[id] * (double)d->frequency_penalty - (double)d->presence_penalty;
    for (i = 0; i < d->n_bias; i++)
        if (d->bias[i].id == id) l += (double)d->bias[i].bias;
    return l;
}

static void hostile_case(int n, int kind)
{
    static const float rep[] = { 0, 1e-45f, 1e-38f, 1e-6f, 0.5f, 1, 1.3f, 1e6f },
                       add[] = { 0, 0, 1e-45f, 1, -1, 1e6f, -1e6f };
    static const float temperature[] = { 0, 1e-45f, 1.2e-38f, 1e-4f, 1, 1e6f },
                       part[] = { 0, 0, 1e-45f, 1e-9f, 0.5f, 1 };
    static const float biases[] = { -INFINITY, INFINITY, 3e38f, -3e38f, 1, 1e-45f };
    static float x[HOSTILE_IDS];
    hybrid_logit_bias bias[HOSTILE_IDS];
    int counts[HOSTILE_IDS] = { 0 };
    hybrid_sampler_desc d;
    hybrid_sampler *s = NULL;
    hybrid_error e;
    double best = -INFINITY, got;
    int32_t id, forced = -1;
    int i, bad = 0;
    memset(&d, 0, sizeof d);
    hostile_logits(x, n, kind);
    d.repetition_penalty = rep[pick(8)];
    d.frequency_penalty = add[pick(7)];
    d.presence_penalty = add[pick(7)];
    d.temperature = temperature[pick(6)];
    d.top_k = pick(3) ? 0 : 1 + pick(4);
    d.top_p = part[pick(6)];
    d.min_p = part[pick(6)];
    d.typical_p = part[pick(6)];
    if (!pick(4)) d.top_n_sigma = rep[pick(8)];
    if (!pick(4)) d.mirostat = pick(3);
    if (!pick(4)) d.mirostat_tau = part[pick(6)];
    d.seed = rng();
    d.bias = bias;
    if (!pick(3)) d.n_bias = pick(4) ? (size_t)(1 + pick(3)) : (size_t)n;
    for (i = 0; i < (int)d.n_bias; i++) {
        bias[i].id = i;
        bias[i].bias = d.n_bias == (size_t)n ? -INFINITY : biases[pick(6)];
        if (i < n && bias[i].bias > 3.4028235e38f && forced < 0) forced = i;
    }
    CHECK(!hybrid_sampler_create(NULL, &d, &s, &e), "%s", e.message);
    for (i = pick(3) ? pick(20) : 0; s && i > 0; i--) {
        id = pick(HYB_MIN(n, 9));
        counts[id]++;
        hybrid_sampler_accept(s, id);
    }
    for (i = 0; i < n; i++) {
        bad = bad || !(x[i] < INFINITY);
        got = hostile_reference(&d, x, i, counts);
        if (got > best) best = got;
    }
    for (i = 0; i < 3; i++) {
        id = hybrid_sample(s, x, n);
        if (forced >= 0)
            CHECK(id == forced, "%d is not the forced %d", id, forced);
        else if (bad || !(best > -INFINITY))
            CHECK(id == HYBRID_ERROR_NUMERIC, "%d, where there is nothing to choose", id);
        else {
            got = id >= 0 && id < n ? hostile_reference(&d, x, id, counts) : NAN;
            CHECK(got >= best - 52 * (double)d.temperature - fabs(best) * 4e-7 - 3e-45, /* floats go no finer */
                  "kind %d, %d tokens: token %d of %g, but the best has %g; repetition %g, "
                  "frequency %g, presence %g, temperature %g, top_k %d, top_p %g, min_p %g, typical_p %g, %d biases",
                  kind, n, id, got, best, (double)d.repetition_penalty, (double)d.frequency_penalty,
                  (double)d.presence_penalty, (double)d.temperature, d.top_k, (double)d.top_p, (double)d.min_p,
                  (double)d.typical_p, (int)d.n_bias);
        }
    }
    hybrid_sampler_destroy(s);
}

static void test_hostile(void)
{
    const int rounds = getenv("HYBRID_SANITIZER") ? 4000 : 40000;
    const float few[5] = { 1, 3, 2, 3, -1 };
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    int i;
    TEST("hostile settings on hostile logits");
    for (i = 0; i < rounds; i++) hostile_case(i % 9 ? 1 + pick(9) : HOSTILE_IDS, i % 12);
    memset(&d, 0, sizeof d);
    for (i = 0; i < 2; i++) { /* boosted beyond all floats, the order of the boosted ones is still theirs */
        const float boosted[5] = { 1, 2.5f, 3, 2, -1 };
        d.repetition_penalty = 1e-45f;
        d.temperature = (float)i;
        s = make(&d);
        hybrid_sampler_accept(s, 3);
        CHECK(hybrid_sample(s, few, 5) == 3, "the only boosted one");
        hybrid_sampler_accept(s, 1);
        hybrid_sampler_accept(s, 2);
        CHECK(hybrid_sample(s, boosted, 5) == 2, "the largest of the boosted ones");
        hybrid_sampler_destroy(s);
    }
}

/* ---- out of memory at the n-th allocation ------------------------------------------------------------------------ */
static int allocations, fail_at, live;
static void *counting_alloc(void *user, size_t size)
{
    (void)user;
    if (++allocations == fail_at) return NULL;
    live++;
    return malloc(size);
}
static void counting_free(void *user, void *p)
{
    (void)user;
    live--;
    free(p);
}

static void test_memory(void)
{
    hybrid_logit_bias bias[1] = { { 1, 2 } };
    const int32_t breaker = 2;
    hybrid_runtime_desc rd;
    hybrid_sampler_desc d;
    int n, done = 0;
    TEST("out of memory");
    memset(&rd, 0, sizeof rd);
    memset(&d, 0, sizeof d);
    rd.allocator.alloc = counting_alloc;
    rd.allocator.free = counting_free;
    rd.n_threads = 1;
    d.bias = bias;
    d.n_bias = 1;
    d.temperature = 1;
    d.repetition_penalty = 1.1f;
    d.dry_multiplier = 1;
    d.dry_breakers = &breaker;
    d.n_dry_breakers = 1;
    for (n = 1; n < 20 && !done; n++) {
        hybrid_runtime *rt = NULL;
        hybrid_sampler *s = NULL;
        hybrid_result r;
        float logits[3] = { 1, 2, 3 };
        allocations = 0;
        fail_at = 0;
        CHECK(!hybrid_runtime_create(&rd, &rt, NULL), "runtime");
        allocations = 0;
        fail_at = n;
        r = hybrid_sampler_create(rt, &d, &s, NULL);
        if (!r) {
            allocations = 0;
            hybrid_sampler_accept(s, hybrid_sample(s, logits, 3));
            CHECK(!allocations, "sampling allocates");
            done = 1;
        } else
            CHECK(r == HYBRID_ERROR_MEMORY && !s, "result %d", (int)r);
        hybrid_runtime_destroy(rt);
        hybrid_sampler_destroy(s);
        CHECK(live == 0, "%d blocks are left", live);
    }
    CHECK(done && n == 11, "%d allocations", n - 2);
}

static void test_exp(void)
{
    double z, worst = 0;
    TEST("exp");
    for (z = 0; z > -110; z -= 0.00137) {
        double e = fabs(hyb_exp_negative(z) / exp(z) - 1);
        if (e > worst) worst = e;
    }
    CHECK(worst < 1e-13, "relative error %g", worst);
    CHECK(hyb_exp_negative(0) == 1, "e^0");
}

int main(void)
{
    test_exp();
    test_reference();
    test_transformers();
    test_llama();
    test_mirostat();
    test_host();
    test_chance();
    test_penalties();
    test_bias();
    test_edges();
    test_settings();
    test_hostile();
    test_memory();
    return test_end();
}
