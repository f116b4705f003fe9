/* train/noise: how noisy gradients are (McCandlish, Kaplan, Amodei et al. 2018, appendix A.1). With G the true gradient
 * and S the noise of one target's (the trace of its covariance), the gradient g of the mean over B targets has
 *
 *     E |g|^2 = |G|^2 + S / B
 *
 * of which two sizes of batch, the first batch of a step and all of them, give unbiased estimates of both:
 *
 *     |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b)        S = (|g_b|^2 - |g_B|^2) / (1 / b - 1 / B)
 *
 * Each is averaged over steps; the noise scale is S / |G|^2. */
#ifndef HYB_TRAIN_NOISE_C
#define HYB_TRAIN_NOISE_C
#include "../core/base.c"

#define HYB_NOISE_NEW 0.05 /* of an average, what the newest estimate makes */

typedef struct hyb_noise {
    double gradient, noise; /* averages of |G|^2 and S, from 0 on: their ratio does not mind */
} hyb_noise;

/* Squares of the norms of the gradients of the means over n_small and n_big targets, the small ones among the big. */
static void hyb_noise_add(hyb_noise *a, double small_squares, double n_small, double big_squares, double n_big)
{
    double gradient, noise;
    if (!(n_small > 0) || !(n_big > n_small)) return;
    gradient = (n_big * big_squares - n_small * small_squares) / (n_big - n_small);
    noise = (small_squares - big_squares) / (1 / n_small - 1 / n_big);
    if (!(fabs(gradient) < (double)HUGE_VALF) || !(fabs(noise) < (double)HUGE_VALF)) return;
    a->gradient += HYB_NOISE_NEW * (gradient - a->gradient);
    a->noise += HYB_NOISE_NEW * (noise - a->noise);
}

/* 0: not known. */
static double hyb_noise_scale(const hyb_noise *a)
{
    return a->gradient > 0 && a->noise > 0 ? a->noise / a->gradient : 0;
}
#endif
