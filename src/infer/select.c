/* infer/select: filters and a draw over the logits of a whole vocabulary, without sorting it and without memory of its
 * size.
 *
 * A filter that keeps the first of an order (top-k by count, top-p by probability) needs no sorted list, only the key
 * of the last one kept and how many of that key: a cut. It is found by histograms over the bits of the keys, 11 + 11 +
 * 10, from the top. As soon as all that can be kept fits into a small list of candidates, the rest happens there; so a
 * usual draw reads a large vocabulary three or four times. Everything is summed in order of id, in double: the result
 * depends on nothing else. */
#ifndef HYB_INFER_SELECT_C
#define HYB_INFER_SELECT_C
#include "../core/number.c"

#define HYB_SELECT_CHUNK 512
#define HYB_SELECT_BINS 2048
#define HYB_SELECT_CANDIDATES 2048
#define HYB_SELECT_NOTHING 50.0 /* e^-50 of the best is as good as impossible: the draw resolves 2^-53 */

/* Keeps the keys above key, and the first `equal` (by id) of those equal to it. */
typedef struct hyb_cut {
    uint32_t key;
    int64_t equal;
} hyb_cut;

enum { HYB_BY_LOGIT, HYB_BY_TYPICAL, HYB_CUTS };

typedef struct hyb_select {
    /* Writes the logits of ids first..first+n-1 to x (n). */
    void (*load)(const void *user, int32_t first, int32_t n, float *x);
    const void *user;
    int32_t n_vocab, best; /* best: the likeliest id */
    float max, low;        /* the logit of best; logits below low are out */
    double scale;          /* 1 / temperature; a logit x weighs e^z, z = (x - max) * scale */
    double min_weight;     /* a token that weighs less is out; 0: none is */
    double center;         /* the mean of z */
    int n_peaks;
    float peak[HYB_SELECT_BINS]; /* the largest logit of each of the first chunks */
    hyb_cut cut[HYB_CUTS];
    bool gathered; /* all tokens that are left are among the candidates, in order of id */
    int32_t n_candidates;
    int32_t candidate_id[HYB_SELECT_CANDIDATES];
    float candidate[HYB_SELECT_CANDIDATES];
    double sum[HYB_SELECT_BINS];
    int64_t count[HYB_SELECT_BINS];
    int32_t id[HYB_SELECT_CHUNK]; /* what hyb_select_next found */
    float x[HYB_SELECT_CHUNK];
    double weight[HYB_SELECT_CHUNK];
} hyb_select;

/* A walk over the tokens that are left, in order of id. */
typedef struct hyb_walk {
    int32_t at;
    hyb_cut cut[HYB_CUTS];
} hyb_walk;

/* e^z for z in -700..0, relative error below 1e-13: z = n ln 2 + r, a polynomial in r, |r| <= ln 2 / 2. */
HYB_INLINE double hyb_exp_negative(double z)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, in the low bits */
    double t = z * 1.4426950408889634 + magic, n = t - magic,
           r = z - n * 6.93147180369123816e-01 - n * 1.90821492927058770e-10, p;
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
    bits += power << 52; /* times 2^n */
    memcpy(&p, &bits, sizeof p);
    return p;
}

HYB_INLINE double hyb_select_exponent(const hyb_select *s, float x) { return ((double)x - (double)s->max) * s->scale; }
HYB_INLINE double hyb_select_weight(const hyb_select *s, float x)
{
    return hyb_exp_negative(hyb_select_exponent(s, x));
}

/* The weights of x[0..m-1], in rounds of a constant length, which compilers turn into vector code. */
static void hyb_select_weights(hyb_select *s, int m)
{
    int first, i;
    for (first = 0; first < m; first += 64)
        for (i = first; i < first + 64; i++) s->weight[i] = hyb_select_weight(s, s->x[i]);
}

/* Unsigned integers in the order of the floats (-0 = 0). */
HYB_INLINE uint32_t hyb_float_order(float x)
{
    uint32_t u = hyb_f32_bits(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

HYB_INLINE uint32_t hyb_select_key(const hyb_select *s, int by, float x)
{
    double d;
    if (by == HYB_BY_LOGIT) return hyb_float_order(x);
    d = hyb_select_exponent(s, x) - s->center;
    return hyb_float_order((float)(d < 0 ? d : -d));
}

HYB_INLINE bool hyb_cut_keeps(hyb_cut *cut, uint32_t key)
{
    return key > cut->key || (key == cut->key && cut->equal-- > 0);
}

static void hyb_walk_begin(const hyb_select *s, hyb_walk *walk)
{
    walk->at = 0;
    memcpy(walk->cut, s->cut, sizeof walk->cut);
}

/* The next ids that pass all cuts, into s->id and s->x. False at the end; *n may be 0 before it. */
static bool hyb_select_next(hyb_select *s, hyb_walk *walk, int *n)
{
    const bool typical = s->cut[HYB_BY_TYPICAL].key != 0;
    int32_t end = s->gathered ? s->n_candidates : s->n_vocab, first = walk->at, i, size;
    const float *from = s->x; /* written from the front as it is read: m <= i */
    int m = 0;
    if (first >= end) return false;
    size = HYB_MIN(end - first, HYB_SELECT_CHUNK);
    if (s->gathered)
        from = s->candidate + first;
    else
        s->load(s->user, first, size, s->x);
    for (i = 0; i < size; i++) {
        float x = from[i];
        if (x < s->low || !hyb_cut_keeps(&walk->cut[HYB_BY_LOGIT], hyb_float_order(x))) continue;
        if (s->min_weight > 0 && hyb_select_weight(s, x) < s->min_weight) continue;
        if (typical && !hyb_cut_keeps(&walk->cut[HYB_BY_TYPICAL], hyb_select_key(s, HYB_BY_TYPICAL, x))) continue;
        s->x[m] = x;
        s->id[m++] = s->gathered ? s->candidate_id[first + i] : first + i;
    }
    walk->at = first + size;
    *n = m;
    return true;
}

/* Starts over with n_vocab logits and finds the best, and in passing the best of every chunk. False when one is NaN or
 * +inf, or none is above -inf. */
static bool hyb_select_begin(hyb_select *s, int32_t n_vocab)
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
        size = HYB_MIN(n_vocab - first, HYB_SELECT_CHUNK);
        s->load(s->user, first, size, s->x);
        for (i = 0; i < size; i++) {
            if (HYB_LIKELY(s->x[i] <= peak)) continue;
            if (!(s->x[i] < INFINITY)) return false;
            peak = s->x[i];
            at = i;
        }
        if (s->n_peaks < HYB_SELECT_BINS) s->peak[s->n_peaks++] = peak;
        if (peak > s->max) {
            s->max = peak;
            s->best = first + at;
        }
    }
    return s->best >= 0;
}

/* Sets what a logit weighs; nothing is filtered yet. temperature > 0. */
static void hyb_select_temperature(hyb_select *s, double temperature)
{
    s->scale = 1.0 / temperature;
    s->low = (float)((double)s->max - HYB_SELECT_NOTHING * temperature);
    s->min_weight = 0;
    memset(s->cut, 0, sizeof s->cut);
    s->cut[HYB_BY_LOGIT].key = hyb_float_order(-INFINITY);
}

/* Moves the tokens that are left, which must fit, into the candidates. */
static void hyb_select_gather(hyb_select *s)
{
    hyb_walk walk;
    int32_t n = 0;
    int m;
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m); n += m) {
        memcpy(s->candidate + n, s->x, (size_t)m * sizeof *s->x);
        memcpy(s->candidate_id + n, s->id, (size_t)m * sizeof *s->id);
    }
    s->n_candidates = n;
    s->gathered = true;
}

/* The same for those whose key is at least `lowest`; the cut stays as it was, because its `equal` still counts. */
static void hyb_select_gather_from(hyb_select *s, int by, uint32_t lowest)
{
    hyb_cut cut = s->cut[by];
    if (lowest > cut.key) {
        s->cut[by].key = lowest - 1;
        s->cut[by].equal = 0;
    }
    hyb_select_gather(s);
    s->cut[by] = cut;
}

/* One histogram: count and sum (of weights, or of ones) per value of the `width` bits at `shift`, of the keys that
 * continue `prefix`. */
static void hyb_select_histogram(hyb_select *s, int by, bool by_weight, uint32_t prefix, int shift, int width)
{
    const uint32_t mask = (1u << width) - 1;
    const bool all = shift + width == 32;
    hyb_walk walk;
    int i, m;
    memset(s->sum, 0, sizeof s->sum);
    memset(s->count, 0, sizeof s->count);
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m);) {
        if (by_weight && all) hyb_select_weights(s, m);
        for (i = 0; i < m; i++) {
            uint32_t key = hyb_select_key(s, by, s->x[i]);
            if (!all && key >> (shift + width) != prefix) continue;
            s->count[key >> shift & mask]++;
            if (by_weight) s->sum[key >> shift & mask] += all ? s->weight[i] : hyb_select_weight(s, s->x[i]);
        }
    }
    if (!by_weight)
        for (i = 0; i < HYB_SELECT_BINS; i++) s->sum[i] = (double)s->count[i];
}

/* Keeps the fewest tokens, by falling key, that reach `want`: a number of them (by_weight false), or a part of the
 * whole weight. */
static void hyb_select_keep(hyb_select *s, int by, bool by_weight, double want)
{
    static const int shifts[3] = { 21, 10, 0 }, widths[3] = { 11, 11, 10 };
    uint32_t prefix = 0;          /* of the key of the last one kept */
    double above = 0, before = 0; /* sum of those with a key above that prefix */
    int64_t n_above = 0, n_before = 0, equal = 0;
    hyb_walk walk;
    int level, b, i, m;
    for (level = 0; level < 3; level++) {
        hyb_select_histogram(s, by, by_weight, prefix, shifts[level], widths[level]);
        if (!level && by_weight) {
            double whole = 0;
            for (b = 0; b < HYB_SELECT_BINS; b++) whole += s->sum[b];
            want *= whole;
        }
        for (b = 1 << widths[level], i = 0;
             b-- > 0;) { /* i: the bin that reaches want, or (rounding) the last that is not empty */
            if (!s->count[b]) continue;
            i = b;
            before = above;
            n_before = n_above;
            above += s->sum[b];
            n_above += s->count[b];
            if (above >= want) break;
        }
        prefix = prefix << widths[level] | (uint32_t)i;
        if (!s->gathered && n_above <= HYB_SELECT_CANDIDATES) hyb_select_gather_from(s, by, prefix << shifts[level]);
        above = before;
        n_above = n_before;
    }
    for (hyb_walk_begin(s, &walk); above < want && hyb_select_next(s, &walk, &m);) {
        for (i = 0; i < m && above < want; i++) {
            if (hyb_select_key(s, by, s->x[i]) != prefix) continue;
            above += by_weight ? hyb_select_weight(s, s->x[i]) : 1;
            equal++;
        }
    }
    s->cut[by].key = prefix;
    s->cut[by].equal = equal;
}

static int hyb_falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Keeps the k likeliest. The first filter: nothing below the k-th of the chunks' peaks can be among them, which spares
 * the histograms nearly all of a large vocabulary. */
static void hyb_select_top(hyb_select *s, int k)
{
    if (k <= s->n_peaks) {
        qsort(s->peak, (size_t)s->n_peaks, sizeof *s->peak, hyb_falling);
        s->low = HYB_MAX(s->low, s->peak[k - 1]);
    }
    hyb_select_keep(s, HYB_BY_LOGIT, false, (double)k);
}

/* Drops what weighs less than part (0..1) of the best. */
static void hyb_select_min(hyb_select *s, double part)
{
    int exponent;
    double low;
    frexp(part, &exponent); /* part >= 2^(exponent - 1): drops most of the vocabulary without an exponential */
    low = (double)s->max + ((exponent - 1) * 0.6931471805599453 - 1e-3) / s->scale;
    if (low > (double)s->low) s->low = (float)low;
    s->min_weight = part;
}

/* Keeps the fewest whose information is nearest to the entropy H and that reach `part` of the whole. With weights w =
 * e^z of sum Z, information - H = (ln Z - z) - (ln Z - sum(w z) / Z) = mean - z: no logarithm is needed. */
static void hyb_select_typical(hyb_select *s, double part)
{
    hyb_walk walk;
    double whole = 0, mean = 0;
    int i, m;
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m);) {
        hyb_select_weights(s, m);
        for (i = 0; i < m; i++) {
            whole += s->weight[i];
            mean += s->weight[i] * hyb_select_exponent(s, s->x[i]);
        }
    }
    s->center = mean / whole;
    hyb_select_keep(s, HYB_BY_TYPICAL, true, part);
}

/* The id at which the running sum of weights, in order of id, passes u (0..1) of the whole. The first walk leaves a sum
 * per few chunks, so that the second needs few exponentials. */
static int32_t hyb_select_draw(hyb_select *s, double u)
{
    int32_t n = s->gathered ? s->n_candidates : s->n_vocab, last = s->best;
    int per_bin = (n / HYB_SELECT_CHUNK + 1) / HYB_SELECT_BINS + 1, chunk, bin, i, m;
    double whole = 0, passed = 0, target;
    hyb_walk walk;
    memset(s->sum, 0, sizeof s->sum);
    for (chunk = 0, hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m); chunk++) {
        hyb_select_weights(s, m);
        for (i = 0; i < m; i++) s->sum[chunk / per_bin] += s->weight[i];
    }
    for (bin = 0; bin < HYB_SELECT_BINS; bin++) whole += s->sum[bin];
    target = u * whole;
    for (bin = 0; bin < HYB_SELECT_BINS - 1 && passed + s->sum[bin] <= target; bin++) passed += s->sum[bin];
    for (chunk = 0, hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m); chunk++) {
        if (m) last = s->id[m - 1];
        if (chunk / per_bin < bin) continue;
        for (i = 0; i < m; i++)
            if ((passed += hyb_select_weight(s, s->x[i])) > target) return s->id[i];
    }
    return last; /* rounding: u was nearly 1 */
}
#endif
