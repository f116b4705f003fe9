/* predict/series: numbers of a run one after another, and what is to be seen in the last of them. */
#ifndef HYB_PREDICT_SERIES_C
#define HYB_PREDICT_SERIES_C
#include "../core/base.c"

/* False of NaN and of infinities, also where a compiler was told that there are none. */
static bool hyb_is_finite(double x) { return x > -1e300 && x < 1e300; }

/* low, if x is not a number. */
static double hyb_clamp(double x, double low, double high) { return x > low ? HYB_MIN(x, high) : low; }

static double hyb_logistic(double x) { return 1 / (1 + exp(-hyb_clamp(x, -700.0, 700.0))); }

/* How the predictor sees a loss: by its logarithm. What was a share of the loss is a difference then. */
static double hyb_log_loss(double loss) { return log(HYB_MAX(loss, 1e-6)); }

/* The newest of a ring, at most `want`, oldest first; how many. */
static int hyb_ring_last(const double *ring, int size, int64_t n, int want, double *out)
{
    const int have = (int)HYB_MIN(n, (int64_t)HYB_MIN(size, want));
    int i;
    for (i = 0; i < have; i++) out[i] = ring[(n - have + i) % size];
    return have;
}

typedef struct hyb_trend {
    double mean, slope; /* at the middle; a step */
    double std;         /* of what is left over */
    double last;        /* what is left over at the newest */
    double lag1;        /* autocorrelation of what is left over */
} hyb_trend;

/* The straight line through y (least squares). n >= 2. */
static hyb_trend hyb_trend_fit(const double *y, int n)
{
    const double middle = (n - 1) / 2.0;
    double xy = 0, xx = 0, sum = 0, squares = 0, lagged = 0, before = 0;
    hyb_trend line;
    int i;
    for (i = 0; i < n; i++) sum += y[i];
    line.mean = sum / n;
    for (i = 0; i < n; i++) {
        xy += (i - middle) * (y[i] - line.mean);
        xx += (i - middle) * (i - middle);
    }
    line.slope = xy / xx;
    line.last = 0;
    for (i = 0; i < n; i++) {
        line.last = y[i] - line.mean - line.slope * (i - middle);
        squares += line.last * line.last;
        lagged += line.last * before;
        before = line.last;
    }
    line.std = sqrt(squares / n);
    line.lag1 = squares > 1e-18 * n ? lagged / squares : 0;
    return line;
}

/* Part of the inner points at which a series turns. Of independent noise it is 2/3. */
static double hyb_turning(const double *y, int n)
{
    int i, turns = 0;
    for (i = 1; i + 1 < n; i++) turns += (y[i] > y[i - 1]) == (y[i] > y[i + 1]) && y[i] != y[i - 1];
    return (double)turns / (n - 2);
}

/* The largest rise from a point to a later one. */
static double hyb_draw_up(const double *y, int n)
{
    double low = y[0], most = 0;
    int i;
    for (i = 1; i < n; i++) {
        most = HYB_MAX(most, y[i] - low);
        low = HYB_MIN(low, y[i]);
    }
    return most;
}

/* The k-th smallest of n, k from 0. It moves them. */
static double hyb_nth(double *y, int n, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        const double pivot = y[low + (high - low) / 2];
        int i = low - 1, j = high + 1;
        for (;;) {
            double swap;
            do i++;
            while (y[i] < pivot);
            do j--;
            while (y[j] > pivot);
            if (i >= j) break;
            swap = y[i];
            y[i] = y[j];
            y[j] = swap;
        }
        if (k <= j)
            high = j;
        else
            low = j + 1;
    }
    return y[k];
}
#endif
