/* predict/trust: how far the mean of a member is to be believed ("stacking", Wolpert 1992).
 *
 *     mu_H = a_H o_H + b_H r      o: the member's output;  r: the miss of the law in the newest window;  in units
 *
 * a and b are least squares over ticks that the member was never taught, towards 0 where little is known: so a member
 * that has learned nothing says what the law says, one to which the last value is all says so, and one that knows by
 * heart what it has seen is not taken at its word. Two numbers for each horizon, in closed form: Adam would take as
 * long as most runs. */
#ifndef HYB_PREDICT_TRUST_C
#define HYB_PREDICT_TRUST_C
#include "../compute/cpu/rssm/heads.c"

#define HYB_TRUST_MEMORY 0.98 /* of what earlier steps have shown: since then weights have moved */
#define HYB_TRUST_TICKS  8.0  /* what a = b = 0 counts as */

static void hyb_trust_fade(hyb_trust *s)
{
    int h;
    for (h = 0; h < HYB_HORIZONS; h++) {
        s->n[h] *= HYB_TRUST_MEMORY;
        s->oo[h] *= HYB_TRUST_MEMORY;
        s->or_[h] *= HYB_TRUST_MEMORY;
        s->rr[h] *= HYB_TRUST_MEMORY;
        s->oy[h] *= HYB_TRUST_MEMORY;
        s->ry[h] *= HYB_TRUST_MEMORY;
    }
}

/* n_ticks: how many different ones the sums are of, about: the same ones come again and again. */
static void hyb_trust_solve(hyb_trust *s, double n_ticks)
{
    const double ridge = HYB_TRUST_TICKS / HYB_MAX(n_ticks, 1);
    int h;
    for (h = 0; h < HYB_HORIZONS; h++) {
        const double n = s->n[h], oo = s->oo[h] / n + ridge, rr = s->rr[h] / n + ridge, or_ = s->or_[h] / n;
        const double oy = s->oy[h] / n, ry = s->ry[h] / n, det = oo * rr - or_ * or_;
        if (!(n > 0) || !(det > 0)) continue;
        s->a[h] = HYB_MIN(HYB_MAX((oy * rr - ry * or_) / det, 0), 1.5);
        s->b[h] = HYB_MIN(HYB_MAX((ry - s->a[h] * or_) / rr, -1.5), 1.5);
    }
}
#endif
