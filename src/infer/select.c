/* infer/select: filters and a draw over the logits of a whole vocabulary, without sorting it and without memory of its
 * size. Logits are read in chunks, whose best ones are known from the first pass on: a filter that leaves nothing of a
 * chunk spares it.
 *
 * A filter that keeps the first of an order (top-k by count, top-p by probability) needs no sorted list, only the key
 * of the last one kept and how many of that key: a cut. It is found by histograms over the bits of the keys, 11 + 11 +
 * 10, from the top. As soon as all that can be kept fits into a small list of candidates, the rest happens there; so a
 * usual draw reads a large vocabulary two or three times. Everything is summed in one order, in double: the result
 * depends on nothing else. */
#ifndef HYB_INFER_SELECT_C
#define HYB_INFER_SELECT_C
#include "../core/cpu.c"
#include "../core/number.c"
#include "weigh.c"

#define HYB_SELECT_CHUNK 512
#define HYB_SELECT_BINS 2048
#define HYB_SELECT_CANDIDATES 2048
#define HYB_SELECT_NOTHING 50.0 /* e^-50 of the best is as good as impossible: the draw resolves 2^-53 */

/* Keeps the keys above key, and the first `equal` (by id) of those equal to it. */
typedef struct hyb_cut {
    uint32_t key;
    int64_t equal;
} hyb_cut;

/* In the order in which they are applied. LATE: by logit, of what the others leave. */
enum { HYB_BY_LOGIT, HYB_BY_TYPICAL, HYB_BY_LATE, HYB_CUTS };

typedef struct hyb_select {
    /* Writes the logits of ids first..first+n-1 to x (n). */
    void (*load)(const void *user, int32_t first, int32_t n, float *x);
    const void *user;
    /* of this processor: see hyb_weigh, hyb_weigh_sum */
    void (*weigh)(const float *x, const hyb_scale *scale, double *weight);
    double (*weigh_sum)(const float *x, const hyb_scale *scale, double *moment);
    int32_t n_vocab, best; /* best: the likeliest id */
    float max, low;        /* the logit of best; logits below low are out */
    float high;            /* logits above high are out, and of those equal to it ids below high_id */
    int32_t high_id;
    double scale;          /* 1 / temperature; a logit x weighs e^z, z = (x - max) * scale */
    double min_weight;     /* a token that weighs less is out; 0: none is */
    double late_weight;    /* the same, after the typical ones were chosen */
    double center;         /* the mean of z */
    double drawn;          /* the part of the whole that the token drawn last had */
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

HYB_INLINE double hyb_select_exponent(const hyb_select *s, float x) { return ((double)x - (double)s->max) * s->scale; }
HYB_INLINE double hyb_select_weight(const hyb_select *s, float x)
{
    return hyb_exp_negative(hyb_select_exponent(s, x));
}

static void hyb_select_init(hyb_select *s, hyb_isa isa)
{
    const bool avx2 = isa == HYB_ISA_AVX2 || isa == HYB_ISA_AVXVNNI || isa == HYB_ISA_AVX512;
    s->weigh = avx2 ? hyb_weigh_avx2 : hyb_weigh_generic;
    s->weigh_sum = avx2 ? hyb_weigh_sum_avx2 : hyb_weigh_sum_generic;
}

/* Whether logits are such that small weights may be computed in single precision: all but extreme ones. */
static bool hyb_select_quick(const hyb_select *s)
{
    return s->scale > 1e-6 && s->scale < 1e6 && s->max > -1e30f && s->max < 1e30f;
}

static hyb_scale hyb_select_scale(const hyb_select *s)
{
    hyb_scale scale;
    scale.base = (double)s->max;
    scale.rate = s->scale;
    scale.small = hyb_select_quick(s) ? (float)((double)s->max + HYB_WEIGH_SMALL / s->scale) : -INFINITY;
    scale.low = s->low;
    return scale;
}

/* What x[0..m-1] weigh. */
static void hyb_select_weights(hyb_select *s, int m)
{
    const hyb_scale scale = hyb_select_scale(s);
    int i;
    for (i = 0; i < m; i += 64) s->weigh(s->x + i, &scale, s->weight + i);
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
    if (by != HYB_BY_TYPICAL) return hyb_float_order(x);
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

/* Whether the chunk that begins at id `first` has no token that is left. */
HYB_INLINE bool hyb_select_spared(const hyb_select *s, int32_t first)
{
    return !s->gathered && first / HYB_SELECT_CHUNK < s->n_peaks && s->peak[first / HYB_SELECT_CHUNK] < s->low;
}

/* The next ids that pass all cuts, into s->id and s->x. False at the end; *n may be 0 before it. */
static bool hyb_select_next(hyb_select *s, hyb_walk *walk, int *n)
{
    const bool typical = s->cut[HYB_BY_TYPICAL].key != 0, late = s->cut[HYB_BY_LATE].key != 0;
    int32_t end = s->gathered ? s->n_candidates : s->n_vocab, first = walk->at, i, size, id;
    const float *from = s->x; /* written from the front as it is read: m <= i */
    int m = 0;
    if (first >= end) return false;
    size = HYB_MIN(end - first, HYB_SELECT_CHUNK);
    walk->at = first + size;
    *n = 0;
    if (hyb_select_spared(s, first)) return true;
    if (s->gathered)
        from = s->candidate + first;
    else
        s->load(s->user, first, size, s->x);
    for (i = 0; i < size; i++) {
        float x = from[i];
        if (x < s->low || !hyb_cut_keeps(&walk->cut[HYB_BY_LOGIT], hyb_float_order(x))) continue;
        if (s->min_weight > 0 && hyb_select_weight(s, x) < s->min_weight) continue;
        if (typical && !hyb_cut_keeps(&walk->cut[HYB_BY_TYPICAL], hyb_select_key(s, HYB_BY_TYPICAL, x))) continue;
        id = s->gathered ? s->candidate_id[first + i] : first + i;
        if (x >= s->high && (x > s->high || id < s->high_id)) continue;
        if (s->late_weight > 0 && hyb_select_weight(s, x) < s->late_weight) continue;
        if (late && !hyb_cut_keeps(&walk->cut[HYB_BY_LATE], hyb_float_order(x))) continue;
        s->x[m] = x;
        s->id[m++] = id;
    }
    *n = m;
    return true;
}

/* The best of 512 logits; NaN where one is NaN or +inf. Halves, which compilers turn into vector code. */
static float hyb_select_peak(const float *x)
{
    float a[256], b[64];
    int bad = 0, i;
    for (i = 0; i < 512; i++) bad += !(x[i] < INFINITY);
    for (i = 0; i < 256; i++) a[i] = x[i] > x[i + 256] ? x[i] : x[i + 256];
    for (i = 0; i < 128; i++) a[i] = a[i] > a[i + 128] ? a[i] : a[i + 128];
    for (i = 0; i < 64; i++) b[i] = a[i] > a[i + 64] ? a[i] : a[i + 64];
    for (i = 0; i < 32; i++) b[i] = b[i] > b[i + 32] ? b[i] : b[i + 32];
    for (i = 0; i < 16; i++) b[i] = b[i] > b[i + 16] ? b[i] : b[i + 16];
    for (i = 1; i < 16; i++) b[0] = HYB_MAX(b[0], b[i]);
    return bad ? NAN : b[0];
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
        float peak;
        size = HYB_MIN(n_vocab - first, HYB_SELECT_CHUNK);
        s->load(s->user, first, size, s->x);
        for (i = size; i < HYB_SELECT_CHUNK; i++) s->x[i] = -INFINITY;
        peak = hyb_select_peak(s->x);
        if (!(peak < INFINITY)) return false;
        if (s->n_peaks < HYB_SELECT_BINS) s->peak[s->n_peaks++] = peak;
        if (peak > s->max) {
            s->max = peak;
            for (i = 0; s->x[i] < peak; i++) {}
            s->best = first + i;
        }
    }
    return s->best >= 0;
}

/* Sets what a logit weighs; nothing is filtered yet. temperature > 0. */
static void hyb_select_temperature(hyb_select *s, double temperature)
{
    s->scale = 1.0 / temperature;
    s->low = (float)((double)s->max - HYB_SELECT_NOTHING * temperature);
    s->min_weight = s->late_weight = 0;
    s->high = INFINITY;
    memset(s->cut, 0, sizeof s->cut);
    s->cut[HYB_BY_LOGIT].key = hyb_float_order(-INFINITY);
}

/* After the candidates were changed from outside: the best of them. False as in hyb_select_begin. */
static bool hyb_select_again(hyb_select *s)
{
    int32_t i, at = -1;
    for (i = 0; i < s->n_candidates; i++) {
        if (!(s->candidate[i] < INFINITY)) return false;
        if (s->candidate[i] > -INFINITY && (at < 0 || s->candidate[i] > s->candidate[at])) at = i;
    }
    if (at < 0) return false;
    s->best = s->candidate_id[at];
    s->max = s->candidate[at];
    return true;
}

/* Whether nothing but `low` and `high` filters: then a walk may begin at any chunk. */
static bool hyb_select_plain(const hyb_select *s)
{
    return hyb_select_quick(s) && !s->gathered && !(s->min_weight > 0) && !(s->late_weight > 0) &&
           !s->cut[HYB_BY_TYPICAL].key && !s->cut[HYB_BY_LATE].key &&
           s->cut[HYB_BY_LOGIT].key == hyb_float_order(-INFINITY);
}

/* How many chunks share one of the sums of a walk over all that is left. */
static int hyb_select_per_bin(const hyb_select *s)
{
    const int32_t n = s->gathered ? s->n_candidates : s->n_vocab;
    return (n / HYB_SELECT_CHUNK + 1) / HYB_SELECT_BINS + 1;
}

/* Adds what x[0..511] of ids from `first` weigh to *sum, those that are left, and weight times exponent to *moment. */
static void hyb_select_add(hyb_select *s, int32_t first, double *sum, double *moment)
{
    const hyb_scale scale = hyb_select_scale(s);
    int i;
    for (i = 0; i < HYB_SELECT_CHUNK && s->high < INFINITY; i++)
        if (s->x[i] > s->high || (s->x[i] == s->high && first + i < s->high_id)) s->x[i] = -INFINITY;
    for (i = 0; i < HYB_SELECT_CHUNK; i += 64) {
        double part;
        *sum += s->weigh_sum(s->x + i, &scale, moment ? &part : NULL);
        if (moment) *moment += part * s->scale;
    }
}

/* The weight of all that is left, and in s->sum that of its chunks, hyb_select_per_bin together; *moment (if not
 * NULL): the sum of weight times exponent. */
static double hyb_select_whole(hyb_select *s, double *moment)
{
    const bool plain = hyb_select_plain(s);
    const int per_bin = hyb_select_per_bin(s);
    double whole = 0;
    hyb_walk walk;
    int chunk, i, m;
    memset(s->sum, 0, sizeof s->sum);
    if (moment) *moment = 0;
    hyb_walk_begin(s, &walk);
    for (chunk = 0; plain && walk.at < s->n_vocab; chunk++) {
        const int32_t first = walk.at, size = HYB_MIN(s->n_vocab - first, HYB_SELECT_CHUNK);
        walk.at += size;
        if (hyb_select_spared(s, first)) continue;
        s->load(s->user, first, size, s->x);
        for (i = size; i < HYB_SELECT_CHUNK; i++) s->x[i] = -INFINITY;
        hyb_select_add(s, first, &s->sum[chunk / per_bin], moment);
    }
    for (; !plain && hyb_select_next(s, &walk, &m); chunk++) {
        hyb_select_weights(s, m);
        for (i = 0; i < m; i++) s->sum[chunk / per_bin] += s->weight[i];
        for (i = 0; i < m && moment; i++) *moment += s->weight[i] * hyb_select_exponent(s, s->x[i]);
    }
    for (i = 0; i < HYB_SELECT_BINS; i++) whole += s->sum[i];
    return whole;
}

/* Moves the tokens that are left into the candidates; false: they do not fit, and are where they were. */
static bool hyb_select_gather(hyb_select *s)
{
    hyb_walk walk;
    int32_t n = 0;
    int m;
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m); n += m) {
        if (n + m > HYB_SELECT_CANDIDATES) return false;
        memcpy(s->candidate + n, s->x, (size_t)m * sizeof *s->x);
        memcpy(s->candidate_id + n, s->id, (size_t)m * sizeof *s->id);
    }
    s->n_candidates = n;
    s->gathered = true;
    return true;
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

/* Keeps the fewest tokens, by falling key, that reach `want`: a number of them (by_weight false), or a weight. */
static void hyb_select_cut(hyb_select *s, int by, bool by_weight, double want)
{
    static const int shifts[3] = { 21, 10, 0 }, widths[3] = { 11, 11, 10 };
    uint32_t prefix = 0;          /* of the key of the last one kept */
    double above = 0, before = 0; /* sum of those with a key above that prefix */
    int64_t n_above = 0, n_before = 0, equal = 0;
    hyb_walk walk;
    int level, b, i, m;
    for (level = 0; level < 3; level++) {
        hyb_select_histogram(s, by, by_weight, prefix, shifts[level], widths[level]);
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

/* The same with those alone among the candidates that weigh most, or are nearest to the center: with few of them at
 * first, then with more. False: it takes more than fit. */
static bool hyb_select_cut_near(hyb_select *s, int by, double want)
{
    static const double widths[4] = { 3, 7, 14, 24 };
    const float low = s->low;
    const hyb_cut cut = s->cut[by];
    const double center = by == HYB_BY_TYPICAL ? s->center : 0;
    int i;
    if (s->gathered) return false;
    for (i = 0; i < 4; i++) {
        const double width = widths[i] - center; /* the best is among them */
        double sum = 0;
        int32_t k;
        s->low = HYB_MAX(low, (float)((double)s->max + (center - width) / s->scale));
        if (!hyb_select_gather(s)) break;
        for (k = 0; k < s->n_candidates; k++) sum += hyb_select_weight(s, s->candidate[k]);
        if (sum > want * (1 + 1e-9)) {
            hyb_select_cut(s, by, true, want);
            return true;
        }
        s->gathered = false;
    }
    s->low = low;
    s->cut[by] = cut;
    return false;
}

/* Keeps the fewest likeliest that reach a part (0..1) of the whole weight. */
static void hyb_select_reach(hyb_select *s, double part)
{
    const double want = part * hyb_select_whole(s, NULL);
    if (!hyb_select_cut_near(s, HYB_BY_LOGIT, want)) hyb_select_cut(s, HYB_BY_LOGIT, true, want);
}

static int hyb_falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Raises low to the k-th of the chunks' peaks: nothing below that is among the k best of all. */
static void hyb_select_peaks(hyb_select *s, int k)
{
    float *peaks = s->candidate; /* not in use yet */
    if (k > s->n_peaks || s->gathered) return;
    memcpy(peaks, s->peak, (size_t)s->n_peaks * sizeof *peaks);
    qsort(peaks, (size_t)s->n_peaks, sizeof *peaks, hyb_falling);
    s->low = HYB_MAX(s->low, peaks[k - 1]);
}

/* Keeps the k likeliest of what is left, by HYB_BY_LOGIT or HYB_BY_LATE. The peaks spare most of a large vocabulary. */
static void hyb_select_top(hyb_select *s, int by, int k)
{
    if (hyb_select_plain(s) && !(s->high < INFINITY)) {
        hyb_select_peaks(s, k);
        if (hyb_select_gather(s) && k >= s->n_candidates) return;
    }
    hyb_select_cut(s, by, false, (double)k);
}

/* Drops what weighs less than part (0..1) of the best. */
static void hyb_select_min(hyb_select *s, double part)
{
    int exponent;
    double low;
    frexp(part, &exponent); /* part >= 2^(exponent - 1): drops most of the vocabulary without an exponential */
    low = (double)s->max + ((exponent - 1) * 0.6931471805599453 - 1e-3) / s->scale;
    if (low > (double)s->low) s->low = (float)low;
    s->min_weight = HYB_MAX(s->min_weight, part);
}

/* Keeps the fewest whose information is nearest to the entropy H and that reach `part` of the whole. With weights w =
 * e^z of sum Z, information - H = (ln Z - z) - (ln Z - sum(w z) / Z) = mean - z: no logarithm is needed. */
static void hyb_select_typical(hyb_select *s, double part)
{
    double moment, want;
    const double whole = hyb_select_whole(s, &moment);
    s->center = moment / whole;
    want = part * whole;
    if (!hyb_select_cut_near(s, HYB_BY_TYPICAL, want)) hyb_select_cut(s, HYB_BY_TYPICAL, true, want);
}

/* The id at which the running sum of weights passes u (0..1) of the whole. The sums of chunks tell where it lies. */
static int32_t hyb_select_draw(hyb_select *s, double u)
{
    const double whole = hyb_select_whole(s, NULL), target = u * whole;
    const int per_bin = hyb_select_per_bin(s);
    int32_t last = s->best;
    double passed = 0, weight = 1;
    hyb_walk walk;
    int chunk, bin, i, m;
    for (bin = 0; bin < HYB_SELECT_BINS - 1 && passed + s->sum[bin] <= target; bin++) passed += s->sum[bin];
    hyb_walk_begin(s, &walk);
    chunk = hyb_select_plain(s) && target < whole ? bin * per_bin : 0;
    walk.at = (int32_t)HYB_MIN((int64_t)chunk * HYB_SELECT_CHUNK, (int64_t)s->n_vocab);
    for (; hyb_select_next(s, &walk, &m); chunk++) {
        if (chunk / per_bin >= bin) hyb_select_weights(s, m);
        for (i = 0; i < m && passed <= target; i++) {
            last = s->id[i];
            if (chunk / per_bin < bin) continue;
            passed += weight = s->weight[i];
        }
        if (passed > target) break;
    }
    s->drawn = weight / whole; /* rounding, u nearly 1: the last one */
    return last;
}
#endif
