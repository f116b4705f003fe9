/* compute/cpu/rssm/heads: what the outputs of a member mean, and what they cost where it is known how things went.
 *
 *     0..3    mu_H       the log loss in H = 1, 2, 4, 8 windows, less what the law says now, in units of how much it
 *                        has missed by lately
 *     4..15   o0..o11    the delta: o0 magnitude, o1 confidence in the direction, o2..o9 scales of the eight groups,
 *                        o10 and o11: c_d and c_r
 *     16      mu         the gain of the action, in HYB_GAIN_UNIT true steps
 *     17      logit      P(the loss after Correct lies within the band that was predicted)
 *     18..21  log s_H    the deviation of mu_H
 *     22      log s      and of the gain
 *
 * A member sees some hundred ticks, each many times: what it says of those it knows by heart tells nothing of how far
 * it will be off. So a deviation learns only from ticks that its mean has never been taught (world_learn.c holds a
 * fifth of them back from each member), and no gradient of it goes further than its own row of weights.
 *
 * Coefficients of d, b and r for each group (hyb_delta_coefficients); with all outputs zero they are those of outer
 * Nesterov with eta 0.7 and mu 0.5, to the bit:
 *
 *     c_d = -0.6 sigmoid(o10)                                                    in -0.6 .. 0      -0.3
 *     c_b = 0.35 (1 + 1.5 tanh o0) min(1, 2 sigmoid(o1)) 2 sigmoid(o_2+g)                           0.35
 *     c_r = 0.5 max(0, tanh o11)                                                 in 0 .. 0.5        0
 *
 * A bound (min, max, clamp) lets a gradient through if a step against it leads back from the bound: else an output that
 * begins on one, as o1 and o11 do, would stay there for ever. */
#ifndef HYB_COMPUTE_CPU_RSSM_HEADS_C
#define HYB_COMPUTE_CPU_RSSM_HEADS_C
#include "latent.c"

#ifndef HYBRID_NO_TRAIN

    #define HYB_GAIN_UNIT  20.0f
    #define HYB_SIGMA_LOW  -5.0f /* of log s */
    #define HYB_SIGMA_HIGH 3.0f
    #define HYB_LOSS_OK    0.2f /* weights of the terms of a loss; the others have 1 */

/* ---- trust (predict/trust.c) ------------------------------------------------------------------------------------- */

static void hyb_trust_add(hyb_trust *s, int h, double o, double r, double y)
{
    s->n[h]++;
    s->oo[h] += o * o;
    s->or_[h] += o * r;
    s->rr[h] += r * r;
    s->oy[h] += o * y;
    s->ry[h] += r * y;
}

static float hyb_trust_mean(const hyb_trust *s, int h, float o, float r) { return (float)(s->a[h] * o + s->b[h] * r); }

/* ---- losses ------------------------------------------------------------------------------------------------------ */

static float hyb_clampf(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* The gradient of an output with bounds; x: its value before them. */
static float hyb_bound_back(float x, float low, float high, float d)
{
    return (x >= high && d < 0) || (x <= low && d > 0) ? 0 : d;
}

static void hyb_delta_coefficients(const float o[HYB_DELTA_OUTPUTS], float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS])
{
    const float magnitude = 1.0f + 1.5f * hyb_tanh_scalar(o[0]), q = 2.0f * hyb_sigmoid_scalar(o[1]);
    const float c_d = -0.6f * hyb_sigmoid_scalar(o[10]), t = hyb_tanh_scalar(o[11]);
    int g;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        c[g][0] = c_d;
        c[g][1] = 0.35f * magnitude * HYB_MIN(q, 1.0f) * (2.0f * hyb_sigmoid_scalar(o[2 + g]));
        c[g][2] = 0.5f * HYB_MAX(t, 0.0f);
    }
}

/* do, from the gradients of the coefficients. */
static void hyb_delta_coefficients_back(const float o[HYB_DELTA_OUTPUTS],
                                        const float dc[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS],
                                        float d[HYB_DELTA_OUTPUTS])
{
    const float t0 = hyb_tanh_scalar(o[0]), s1 = hyb_sigmoid_scalar(o[1]), q = HYB_MIN(2.0f * s1, 1.0f);
    const float s10 = hyb_sigmoid_scalar(o[10]), t11 = hyb_tanh_scalar(o[11]), magnitude = 1.0f + 1.5f * t0;
    float d_magnitude = 0, d_q = 0, d_d = 0, d_r = 0;
    int g;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        const float s = hyb_sigmoid_scalar(o[2 + g]), db = 0.35f * dc[g][1];
        d[2 + g] = db * magnitude * q * (2.0f * s * (1.0f - s));
        d_magnitude += db * q * (2.0f * s);
        d_q += db * magnitude * (2.0f * s);
        d_d += dc[g][0];
        d_r += dc[g][2];
    }
    d[0] = d_magnitude * 1.5f * (1.0f - t0 * t0);
    d[1] = hyb_bound_back(o[1], -HUGE_VALF, 0, d_q * (2.0f * s1 * (1.0f - s1)));
    d[10] = d_d * -0.6f * s10 * (1.0f - s10);
    d[11] = hyb_bound_back(o[11], 0, HUGE_VALF, d_r * 0.5f * (1.0f - t11 * t11));
}

/* -ln of the density of a normal distribution at y, and its gradients. */
static double hyb_normal_loss(float mu, float log_sigma, float y, float *d_mu, float *d_log_sigma)
{
    const float s = hyb_clampf(log_sigma, HYB_SIGMA_LOW, HYB_SIGMA_HIGH), e = hyb_exp_scalar(-s), r = (mu - y) * e;
    *d_mu = r * e;
    *d_log_sigma = hyb_bound_back(log_sigma, HYB_SIGMA_LOW, HYB_SIGMA_HIGH, 1.0f - r * r);
    return 0.5 * (double)r * r + s + 0.91893853320467274;
}

/* (c - c*)' G (c - c*), summed over the groups. */
static double hyb_delta_loss(const float o[HYB_DELTA_OUTPUTS], const hyb_heads_labels *y, float d[HYB_DELTA_OUTPUTS])
{
    float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS], dc[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS];
    double loss = 0;
    int g;
    hyb_delta_coefficients(o, c);
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        const float *m = y->gram[g], v0 = c[g][0] - y->c[g][0], v1 = c[g][1] - y->c[g][1], v2 = c[g][2] - y->c[g][2];
        dc[g][0] = 2.0f * (m[0] * v0 + m[1] * v1 + m[2] * v2);
        dc[g][1] = 2.0f * (m[1] * v0 + m[3] * v1 + m[4] * v2);
        dc[g][2] = 2.0f * (m[2] * v0 + m[4] * v1 + m[5] * v2);
        loss += 0.5 * ((double)dc[g][0] * v0 + (double)dc[g][1] * v1 + (double)dc[g][2] * v2);
    }
    hyb_delta_coefficients_back(o, (const float(*)[HYB_DELTA_DIRECTIONS])dc, d);
    return loss;
}

static double hyb_ok_loss(float logit, bool ok, float *d)
{
    const float a = logit < 0 ? logit : -logit, p = hyb_sigmoid_scalar(logit);
    const float wrong = ok ? -logit : logit; /* the loss: ln(1 + e^wrong) */
    *d = HYB_LOSS_OK * (p - (ok ? 1.0f : 0.0f));
    return HYB_MAX(wrong, 0.0f) + hyb_plain_log(1.0 + (double)hyb_exp_scalar(a));
}

/* Of a normal number at outputs `at` and `at_sigma`; mu: what is made of the first for a tick that is held back. */
static double hyb_heads_normal(const float *in, float *out, int at, int at_sigma, float mu, float y, hyb_role role)
{
    const bool taught = role == HYB_ROLE_TAUGHT;
    float d_mu, d_sigma;
    const double loss = hyb_normal_loss(taught ? in[at] : mu, in[at_sigma], y, &d_mu, &d_sigma);
    if (taught) out[at] = d_mu;
    if (role == HYB_ROLE_HELD) out[at_sigma] = d_sigma;
    return loss;
}

/* The log losses of a tick; one that is held back goes into the member's trust. */
static void hyb_heads_losses(const float *in, float r, const hyb_heads_labels *y, hyb_role role, hyb_trust *trust,
                             float *out, hyb_world_loss *loss)
{
    int h;
    for (h = 0; h < HYB_HORIZONS; h++) {
        const float o = in[HYB_HEAD_MEAN + h];
        if (!(y->has_loss >> h & 1)) continue;
        loss->nll[h] += hyb_heads_normal(in, out, HYB_HEAD_MEAN + h, HYB_HEAD_SIGMA + h, hyb_trust_mean(trust, h, o, r),
                                         y->y[h], role);
        loss->n_nll[h]++;
        if (role == HYB_ROLE_HELD) hyb_trust_add(trust, h, o, r, y->y[h]);
    }
}

/* One tick's outputs o and their gradients d, both columns of panels; r: the miss of the law. Adds to *loss what its
 * labels cost. */
static void hyb_heads_loss(const float *o, float r, const hyb_heads_labels *y, hyb_role role, hyb_trust *trust,
                           float *d, hyb_world_loss *loss)
{
    const bool taught = role == HYB_ROLE_TAUGHT;
    float in[HYB_HEADS], out[HYB_HEADS];
    int i;
    for (i = 0; i < HYB_HEADS; i++) {
        in[i] = o[i * HYB_PANEL_ROW];
        out[i] = 0;
    }
    hyb_heads_losses(in, r, y, role, trust, out, loss);
    if (y->has_gain) {
        loss->gain += hyb_heads_normal(in, out, HYB_HEAD_GAIN, HYB_HEAD_GAIN_SIGMA, in[HYB_HEAD_GAIN], y->gain, role);
        loss->n_gain++;
    }
    if (y->has_delta && taught) {
        loss->delta += hyb_delta_loss(in + HYB_HEAD_DELTA, y, out + HYB_HEAD_DELTA);
        loss->n_delta++;
    }
    if (y->has_ok && taught) {
        loss->ok += hyb_ok_loss(in[HYB_HEAD_OK], y->ok, &out[HYB_HEAD_OK]);
        loss->n_ok++;
    }
    for (i = 0; i < HYB_HEADS; i++) d[i * HYB_PANEL_ROW] = out[i];
}
#endif
#endif
