/* infer/spread: filters that measure the whole distribution first: dynamic temperature, top-n-sigma, XTC, mirostat. */
#ifndef HYB_INFER_SPREAD_C
#define HYB_INFER_SPREAD_C
#include "select.c"

#define HYB_MIROSTAT_BEST 100 /* tokens from which mirostat 1 estimates the rest */

/* x^y of x >= 0 */
static double hyb_power(double x, double y)
{
    double e;
    if (!(x > 0)) return y > 0 ? 0 : 1;
    e = y * hyb_plain_log(x);
    if (e > 700) return INFINITY;
    if (e < -700) return 0;
    return e > 0 ? 1 / hyb_exp_negative(-e) : hyb_exp_negative(e);
}

/* The next chunk of all logits (of the candidates, when all others are out), filled up with -inf; false: no more. */
static bool hyb_spread_next(hyb_select *s, int32_t *first)
{
    const int32_t n = s->gathered ? s->n_candidates : s->n_vocab, size = HYB_MIN(n - *first, HYB_SELECT_CHUNK);
    int i;
    if (size <= 0) return false;
    if (s->gathered)
        memcpy(s->x, s->candidate + *first, (size_t)size * sizeof *s->x);
    else
        s->load(s->user, *first, size, s->x);
    for (i = size; i < HYB_SELECT_CHUNK; i++) s->x[i] = -INFINITY;
    *first += size;
    return true;
}

/* The number of logits that are not -inf, and their standard deviation. */
static double hyb_spread_deviation(hyb_select *s, double *n)
{
    const double base = (double)s->max;
    double sum = 0, squares = 0, x[64], y[64];
    int32_t first = 0, count = 0;
    int i, k;
    while (hyb_spread_next(s, &first)) {
        for (i = 0; i < HYB_SELECT_CHUNK; i++) count += s->x[i] > -INFINITY;
        for (i = 0; i < HYB_SELECT_CHUNK; i++) s->x[i] = s->x[i] > -INFINITY ? s->x[i] : s->max;
        for (k = 0; k < HYB_SELECT_CHUNK; k += 64) {
            for (i = 0; i < 64; i++) x[i] = (double)s->x[k + i] - base;
            for (i = 0; i < 64; i++) y[i] = x[i] * x[i];
            sum += hyb_sum64(x);
            squares += hyb_sum64(y);
        }
    }
    *n = (double)count;
    sum /= *n;
    squares = squares / *n - sum * sum;
    return squares > 0 ? sqrt(squares) : 0;
}

/* Drops what is more than n deviations below the best. Logits that differ by rounding only are one. */
static void hyb_spread_sigma(hyb_select *s, double n)
{
    double count;
    const double deviation = hyb_spread_deviation(s, &count), low = (double)s->max - n * deviation;
    float bound = (float)low;
    if (!(low > (double)s->low)) return;
    if ((double)bound < low) bound = nextafterf(bound, INFINITY);
    s->low = bound;
}

/* The temperature between low and high for how even the distribution is: its entropy as a part of the largest that so
 * many tokens could have, to a power. down: what logits are scaled by. */
static double hyb_spread_temperature(hyb_select *s, double low, double high, double exponent, double down)
{
    double n, moment, whole, entropy;
    int32_t first = 0, count = 0;
    int i;
    while (hyb_spread_next(s, &first))
        for (i = 0; i < HYB_SELECT_CHUNK; i++) count += s->x[i] > -INFINITY;
    n = (double)count;
    hyb_select_temperature(s, down);
    whole = hyb_select_whole(s, &moment);
    entropy = hyb_plain_log(whole) - moment / whole;
    return n > 1 ? low + (high - low) * hyb_power(HYB_MAX(entropy, 0.0) / hyb_plain_log(n), exponent) : high;
}

/* XTC: of the tokens that have at least `part` of what is left, drops all but the least likely (of equals that of the
 * highest id). */
static void hyb_spread_exclude(hyb_select *s, double part)
{
    const double weight = part * hyb_select_whole(s, NULL);
    const float low = s->low, bound = (float)((double)s->max + (hyb_plain_log(weight) - 1e-3) / s->scale);
    float least = INFINITY;
    int32_t id = 0, n = 0;
    hyb_walk walk;
    int i, m;
    if (hyb_select_plain(s)) s->low = HYB_MAX(low, bound);
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m);)
        for (i = 0; i < m; i++) {
            if (hyb_select_weight(s, s->x[i]) < weight) continue;
            n++;
            if (s->x[i] <= least) {
                least = s->x[i];
                id = s->id[i];
            }
        }
    s->low = low;
    if (n < 2) return;
    s->high = least;
    s->high_id = id;
}

/* The most that a token that is left weighs. */
static double hyb_spread_most(hyb_select *s)
{
    float best = -INFINITY;
    hyb_walk walk;
    int i, m;
    if (hyb_select_plain(s) && !(s->high < INFINITY)) return 1;
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m);)
        for (i = 0; i < m; i++) best = HYB_MAX(best, s->x[i]);
    return hyb_select_weight(s, best);
}

/* Mirostat 2: drops what would surprise by more than mu bits; one token stays. */
static void hyb_spread_surprise(hyb_select *s, double mu)
{
    const double least = hyb_select_whole(s, NULL) * hyb_power(2, -mu), most = hyb_spread_most(s);
    if (least > most)
        hyb_select_top(s, HYB_BY_LATE, 1);
    else if (least > 1e-21 && hyb_select_plain(s))
        hyb_select_min(s, least);
    else
        s->late_weight = least;
}

/* The exponents of the best that are left, falling, of at most HYB_MIROSTAT_BEST. Returns their number. */
static int hyb_spread_best(hyb_select *s, double *best)
{
    const float low = s->low;
    float list[HYB_MIROSTAT_BEST + 1];
    hyb_walk walk;
    int n = 0, i, k, m;
    if (hyb_select_plain(s) && !(s->high < INFINITY)) hyb_select_peaks(s, HYB_MIROSTAT_BEST);
    for (hyb_walk_begin(s, &walk); hyb_select_next(s, &walk, &m);)
        for (i = 0; i < m; i++) {
            if (n == HYB_MIROSTAT_BEST && s->x[i] <= list[n - 1]) continue;
            for (k = n; k > 0 && list[k - 1] < s->x[i]; k--) list[k] = list[k - 1];
            list[k] = s->x[i];
            n = HYB_MIN(n + 1, HYB_MIROSTAT_BEST);
        }
    s->low = low;
    for (i = 0; i < n; i++) best[i] = hyb_select_exponent(s, list[i]);
    return n;
}

/* Mirostat 1: keeps as many of the likeliest as would surprise by mu bits on average, were the vocabulary of n tokens a
 * Zipf's distribution whose exponent the best ones show. */
static void hyb_spread_zipf(hyb_select *s, double mu, double n)
{
    double best[HYB_MIROSTAT_BEST], top = 0, bottom = 0, exponent, over, base, k;
    const int n_best = hyb_spread_best(s, best);
    int i;
    for (i = 0; i + 1 < n_best; i++) {
        const double t = hyb_plain_log((double)(i + 2) / (double)(i + 1));
        top += t * (best[i] - best[i + 1]);
        bottom += t * t;
    }
    if (!(bottom > 0)) return; /* one token */
    exponent = top / bottom;
    over = exponent - 1;
    base = over > -1e-9 && over < 1e-9 ? 1 / hyb_plain_log(n) : over / (1 - hyb_power(n, -over));
    k = exponent > 1e-9 ? hyb_power(base * hyb_power(2, mu), 1 / exponent) : n; /* 0: all are equally likely */
    if (k < 2147483647.0 && k < n) hyb_select_top(s, HYB_BY_LATE, HYB_MAX(1, (int)k));
}
#endif
