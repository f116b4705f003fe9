/* infer/select: filters and a draw over the logits of a whole vocabulary, without sorting it and without memory of its size.
 *
 * A filter that keeps the first of an order (top-k by count, top-p by probability) needs no sorted list, only the key of the last one kept
 * and how many of that key: a cut. It is found by histograms over the bits of the keys, 11 + 11 + 10, from the top. As soon as all that can
 * be kept fits into a small list of candidates, the rest happens there; so a usual draw reads a large vocabulary three or four times.
 * Everything is summed in order of id, in double: the result depends on nothing else. */

#define HYBRID__SELECT_CHUNK      512
#define HYBRID__SELECT_BINS       2048
#define HYBRID__SELECT_CANDIDATES 2048
#define HYBRID__SELECT_NOTHING    50.0      /* e^-50 of the best is no probability: the draw resolves 2^-53 */

/* Keeps the keys above key, and the first `equal` (by id) of those equal to it. */
typedef struct hybrid__cut {
    uint32_t key;
    int64_t  equal;
} hybrid__cut;

enum { HYBRID__BY_LOGIT, HYBRID__BY_TYPICAL, HYBRID__CUTS };

typedef struct hybrid__select {
    /* Writes the logits of ids first..first+n-1 to x (n). */
    void      (*load)(const void *user, int32_t first, int32_t n, float *x);
    const void *user;
    int32_t     n_vocab, best;            /* best: the likeliest id */
    float       max, low;                 /* the logit of best; logits below low are out */
    double      scale;                    /* 1 / temperature; a logit x weighs e^z, z = (x - max) * scale */
    double      min_weight;               /* what weighs less is out; 0: nothing */
    double      center;                   /* the mean of z */
    int         n_peaks;
    float       peak[HYBRID__SELECT_BINS]; /* the largest logit of each of the first chunks */
    hybrid__cut cut[HYBRID__CUTS];
    bool        gathered;                 /* everything that is left is in the candidates, in order of id */
    int32_t     n_candidates;
    int32_t     candidate_id[HYBRID__SELECT_CANDIDATES];
    float       candidate[HYBRID__SELECT_CANDIDATES];
    double      sum[HYBRID__SELECT_BINS];
    int64_t     count[HYBRID__SELECT_BINS];
    int32_t     id[HYBRID__SELECT_CHUNK]; /* what hybrid__select_next found */
    float       x[HYBRID__SELECT_CHUNK];
    double      weight[HYBRID__SELECT_CHUNK];
} hybrid__select;

/* A walk over what is left, in order of id. */
typedef struct hybrid__walk {
    int32_t     at;
    hybrid__cut cut[HYBRID__CUTS];
} hybrid__walk;

/* e^z for z in -700..0, relative error below 1e-13: z = n ln 2 + r, a polynomial in r, |r| <= ln 2 / 2. */
HYBRID__INLINE double hybrid__exp_negative(double z)
{
    const double magic = 6755399441055744.0;         /* 1.5 * 2^52: adding it rounds to an integer, in the low bits */
    double t = z * 1.4426950408889634 + magic, n = t - magic, r = z - n * 6.93147180369123816e-01 - n * 1.90821492927058770e-10, p;
    uint64_t bits, power;
    p = 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    memcpy(&power, &t, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 52;                             /* times 2^n */
    memcpy(&p, &bits, sizeof p);
    return p;
}

HYBRID__INLINE double hybrid__select_exponent(const hybrid__select *s, float x) { return ((double)x - (double)s->max) * s->scale; }
HYBRID__INLINE double hybrid__select_weight(const hybrid__select *s, float x) { return hybrid__exp_negative(hybrid__select_exponent(s, x)); }

/* The weights of x[0..m-1], in rounds of a constant length, which compilers turn into vector code. */
static void hybrid__select_weights(hybrid__select *s, int m)
{
    int first, i;
    for (first = 0; first < m; first += 64)
        for (i = first; i < first + 64; i++) s->weight[i] = hybrid__select_weight(s, s->x[i]);
}

/* Unsigned integers in the order of the floats (-0 = 0). */
HYBRID__INLINE uint32_t hybrid__float_order(float x)
{
    uint32_t u = hybrid__f32_bits(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

HYBRID__INLINE uint32_t hybrid__select_key(const hybrid__select *s, int by, float x)
{
    double d;
    if (by == HYBRID__BY_LOGIT) return hybrid__float_order(x);
    d = hybrid__select_exponent(s, x) - s->center;
    return hybrid__float_order((float)(d < 0 ? d : -d));
}

HYBRID__INLINE bool hybrid__cut_keeps(hybrid__cut *cut, uint32_t key)
{
    return key > cut->key || (key == cut->key && cut->equal-- > 0);
}

static void hybrid__walk_begin(const hybrid__select *s, hybrid__walk *walk)
{
    walk->at = 0;
    memcpy(walk->cut, s->cut, sizeof walk->cut);
}

/* The next ids that pass all cuts, into s->id and s->x. False at the end; *n may be 0 before it. */
static bool hybrid__select_next(hybrid__select *s, hybrid__walk *walk, int *n)
{
    const bool typical = s->cut[HYBRID__BY_TYPICAL].key != 0;
    int32_t end = s->gathered ? s->n_candidates : s->n_vocab, first = walk->at, i, size;
    const float *from = s->x;                        /* written from the front as it is read: m <= i */
    int m = 0;
    if (first >= end) return false;
    size = HYBRID__MIN(end - first, HYBRID__SELECT_CHUNK);
    if (s->gathered) from = s->candidate + first;
    else s->load(s->user, first, size, s->x);
    for (i = 0; i < size; i++) {
        float x = from[i];
        if (x < s->low || !hybrid__cut_keeps(&walk->cut[HYBRID__BY_LOGIT], hybrid__float_order(x))) continue;
        if (s->min_weight > 0 && hybrid__select_weight(s, x) < s->min_weight) continue;
        if (typical && !hybrid__cut_keeps(&walk->cut[HYBRID__BY_TYPICAL], hybrid__select_key(s, HYBRID__BY_TYPICAL, x))) continue;
        s->x[m] = x;
        s->id[m++] = s->gathered ? s->candidate_id[first + i] : first + i;
    }
    walk->at = first + size;
    *n = m;
    return true;
}

/* Starts over with n_vocab logits and finds the best, and in passing the best of every chunk. False when one is NaN or +inf, or none
 * is above -inf. */
static bool hybrid__select_begin(hybrid__select *s, int32_t n_vocab)
{
    int32_t first, i, size;
    s->n_vocab = n_vocab;
    s->gathered = false;
    s->best = -1;
    s->max = -INFINITY;
    s->n_peaks = 0;
    for (first = 0; first < n_vocab; first += size) {
        float peak = -INFINITY;
        int32_t at = 0;
        size = HYBRID__MIN(n_vocab - first, HYBRID__SELECT_CHUNK);
        s->load(s->user, first, size, s->x);
        for (i = 0; i < size; i++) {
            if (HYBRID__LIKELY(s->x[i] <= peak)) continue;
            if (!(s->x[i] < INFINITY)) return false;
            peak = s->x[i];
            at = i;
        }
        if (s->n_peaks < HYBRID__SELECT_BINS) s->peak[s->n_peaks++] = peak;
        if (peak > s->max) {
            s->max = peak;
            s->best = first + at;
        }
    }
    return s->best >= 0;
}

/* Sets what a logit weighs; nothing is filtered yet. temperature > 0. */
static void hybrid__select_temperature(hybrid__select *s, double temperature)
{
    s->scale = 1.0 / temperature;
    s->low = (float)((double)s->max - HYBRID__SELECT_NOTHING * temperature);
    s->min_weight = 0;
    memset(s->cut, 0, sizeof s->cut);
    s->cut[HYBRID__BY_LOGIT].key = hybrid__float_order(-INFINITY);
}

/* All that is left, which must fit, into the candidates. */
static void hybrid__select_gather(hybrid__select *s)
{
    hybrid__walk walk;
    int32_t n = 0;
    int m;
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); n += m) {
        memcpy(s->candidate + n, s->x, (size_t)m * sizeof *s->x);
        memcpy(s->candidate_id + n, s->id, (size_t)m * sizeof *s->id);
    }
    s->n_candidates = n;
    s->gathered = true;
}

/* The same of those whose key is at least `lowest`; the cut stays as it was, for its `equal` still counts. */
static void hybrid__select_gather_from(hybrid__select *s, int by, uint32_t lowest)
{
    hybrid__cut cut = s->cut[by];
    if (lowest > cut.key) {
        s->cut[by].key = lowest - 1;
        s->cut[by].equal = 0;
    }
    hybrid__select_gather(s);
    s->cut[by] = cut;
}

/* One histogram: count and sum (of weights, or of ones) per value of the `width` bits at `shift`, of the keys that continue `prefix`. */
static void hybrid__select_histogram(hybrid__select *s, int by, bool by_weight, uint32_t prefix, int shift, int width)
{
    const uint32_t mask = (1u << width) - 1;
    const bool all = shift + width == 32;
    hybrid__walk walk;
    int i, m;
    memset(s->sum, 0, sizeof s->sum);
    memset(s->count, 0, sizeof s->count);
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); ) {
        if (by_weight && all) hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) {
            uint32_t key = hybrid__select_key(s, by, s->x[i]);
            if (!all && key >> (shift + width) != prefix) continue;
            s->count[key >> shift & mask]++;
            if (by_weight) s->sum[key >> shift & mask] += all ? s->weight[i] : hybrid__select_weight(s, s->x[i]);
        }
    }
    if (!by_weight) for (i = 0; i < HYBRID__SELECT_BINS; i++) s->sum[i] = (double)s->count[i];
}

/* Keeps the fewest first ones, by falling key, that reach `want`: so many (by_weight false), or such a part of the whole weight. */
static void hybrid__select_keep(hybrid__select *s, int by, bool by_weight, double want)
{
    static const int shifts[3] = { 21, 10, 0 }, widths[3] = { 11, 11, 10 };
    uint32_t prefix = 0;                             /* of the key of the last one kept */
    double above = 0, before = 0;                    /* sum of those with a key above that prefix */
    int64_t n_above = 0, n_before = 0, equal = 0;
    hybrid__walk walk;
    int level, b, i, m;
    for (level = 0; level < 3; level++) {
        hybrid__select_histogram(s, by, by_weight, prefix, shifts[level], widths[level]);
        if (!level && by_weight) {
            double whole = 0;
            for (b = 0; b < HYBRID__SELECT_BINS; b++) whole += s->sum[b];
            want *= whole;
        }
        for (b = 1 << widths[level], i = 0; b-- > 0; ) {             /* i: the bin that reaches want, or (rounding) the last that is not empty */
            if (!s->count[b]) continue;
            i = b;
            before = above;
            n_before = n_above;
            above += s->sum[b];
            n_above += s->count[b];
            if (above >= want) break;
        }
        prefix = prefix << widths[level] | (uint32_t)i;
        if (!s->gathered && n_above <= HYBRID__SELECT_CANDIDATES) hybrid__select_gather_from(s, by, prefix << shifts[level]);
        above = before;
        n_above = n_before;
    }
    for (hybrid__walk_begin(s, &walk); above < want && hybrid__select_next(s, &walk, &m); ) {
        for (i = 0; i < m && above < want; i++) {
            if (hybrid__select_key(s, by, s->x[i]) != prefix) continue;
            above += by_weight ? hybrid__select_weight(s, s->x[i]) : 1;
            equal++;
        }
    }
    s->cut[by].key = prefix;
    s->cut[by].equal = equal;
}

static int hybrid__falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Keeps the k likeliest. The first filter: nothing below the k-th of the chunks' peaks can be among them, which spares the histograms
 * nearly all of a large vocabulary. */
static void hybrid__select_top(hybrid__select *s, int k)
{
    if (k <= s->n_peaks) {
        qsort(s->peak, (size_t)s->n_peaks, sizeof *s->peak, hybrid__falling);
        s->low = HYBRID__MAX(s->low, s->peak[k - 1]);
    }
    hybrid__select_keep(s, HYBRID__BY_LOGIT, false, (double)k);
}

/* Drops what weighs less than part (0..1) of the best. */
static void hybrid__select_min(hybrid__select *s, double part)
{
    int exponent;
    double low;
    frexp(part, &exponent);                          /* part >= 2^(exponent - 1): drops most of the vocabulary without an exponential */
    low = (double)s->max + ((exponent - 1) * 0.6931471805599453 - 1e-3) / s->scale;
    if (low > (double)s->low) s->low = (float)low;
    s->min_weight = part;
}

/* Keeps the fewest whose information is nearest to the entropy H and that reach `part` of the whole. With weights w = e^z of sum Z,
 * information - H = (ln Z - z) - (ln Z - sum(w z) / Z) = mean - z: no logarithm is needed. */
static void hybrid__select_typical(hybrid__select *s, double part)
{
    hybrid__walk walk;
    double whole = 0, mean = 0;
    int i, m;
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); ) {
        hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) {
            whole += s->weight[i];
            mean += s->weight[i] * hybrid__select_exponent(s, s->x[i]);
        }
    }
    s->center = mean / whole;
    hybrid__select_keep(s, HYBRID__BY_TYPICAL, true, part);
}

/* The id at which the running sum of weights, in order of id, passes u (0..1) of the whole. The first walk leaves a sum per few chunks, so
 * that the second needs few exponentials. */
static int32_t hybrid__select_draw(hybrid__select *s, double u)
{
    int32_t n = s->gathered ? s->n_candidates : s->n_vocab, last = s->best;
    int per_bin = (n / HYBRID__SELECT_CHUNK + 1) / HYBRID__SELECT_BINS + 1, chunk, bin, i, m;
    double whole = 0, passed = 0, target;
    hybrid__walk walk;
    memset(s->sum, 0, sizeof s->sum);
    for (chunk = 0, hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); chunk++) {
        hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) s->sum[chunk / per_bin] += s->weight[i];
    }
    for (bin = 0; bin < HYBRID__SELECT_BINS; bin++) whole += s->sum[bin];
    target = u * whole;
    for (bin = 0; bin < HYBRID__SELECT_BINS - 1 && passed + s->sum[bin] <= target; bin++) passed += s->sum[bin];
    for (chunk = 0, hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); chunk++) {
        if (m) last = s->id[m - 1];
        if (chunk / per_bin < bin) continue;
        for (i = 0; i < m; i++)
            if ((passed += hybrid__select_weight(s, s->x[i])) > target) return s->id[i];
    }
    return last;                                     /* rounding: u was nearly 1 */
}
