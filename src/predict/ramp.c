/* predict/ramp: how many batches a step should add up. Below the noise scale of its gradients (train/noise.c) a larger
 * batch makes a step better by nearly as much as it costs, and far above it costs alone; the noise scale grows in a
 * run. So the batch begins small and follows it: no other tuning of a run is worth as much (2505.23971: 43 % fewer
 * steps for the same loss), and it is offered to runs without prediction as well.
 *
 *     wanted = fraction * noise scale / targets of a batch
 *
 * The noise scale of a step is itself noise: the mean of its logarithm over some fifty steps is used. The number only
 * grows, by at most a factor of two at a time, HYB_RAMP_EVERY steps apart, and only when half as much again is wanted.
 * A noise scale needs steps of two batches: from one alone nothing can be known, and nothing is recommended. */
#ifndef HYB_PREDICT_RAMP_C
#define HYB_PREDICT_RAMP_C
#include "features.c"

#define HYB_RAMP_EVERY    100
#define HYB_RAMP_KNOWN    20   /* steps with a noise scale, before anything is recommended */
#define HYB_RAMP_NEW      0.02 /* of the average, what the newest step is */
#define HYB_RAMP_FRACTION 0.25 /* of the noise scale: the cost of a target is then 1.25 times the least */
#define HYB_RAMP_MORE     1.5

typedef struct hyb_ramp {
    double fraction;
    double log_scale; /* average of the log of the noise scale */
    int64_t known;    /* steps that had one */
    int64_t since;    /* steps since the number changed */
    int64_t most;     /* batches of a step */
    int64_t now;      /* that are recommended; 0: as it is */
} hyb_ramp;

/* fraction 0: the default; most: batches of a step, at least 1. */
static void hyb_ramp_init(hyb_ramp *r, double fraction, int64_t most)
{
    memset(r, 0, sizeof *r);
    r->fraction = fraction > 0 ? fraction : HYB_RAMP_FRACTION;
    r->most = HYB_MAX(most, (int64_t)1);
}

/* After a true step of n_batches batches, with so many targets each. How many batches the next should have. */
static int64_t hyb_ramp_step(hyb_ramp *r, double noise_scale, int64_t n_batches, double targets)
{
    double wanted;
    r->now = HYB_MAX(r->now, n_batches);
    r->since++;
    if (noise_scale > 0 && hyb_is_finite(noise_scale)) {
        const double x = log(noise_scale);
        r->log_scale += HYB_MAX(1 / (double)(r->known + 1), HYB_RAMP_NEW) * (x - r->log_scale);
        r->known++;
    }
    if (r->known < HYB_RAMP_KNOWN || r->since < HYB_RAMP_EVERY || !(targets > 0)) return r->now;
    wanted = r->fraction * exp(hyb_clamp(r->log_scale, -50.0, 50.0)) / targets;
    if (wanted < HYB_RAMP_MORE * (double)r->now || r->now >= r->most) return r->now;
    r->now = HYB_MIN((int64_t)HYB_MIN(wanted, 2 * (double)r->now), r->most);
    r->since = 0;
    return r->now;
}

/* Settings are those of the run that reads it. */
static void hyb_ramp_walk(hyb_ramp *r, hyb_byte_walk *w)
{
    HYB_WALK(w, r->log_scale);
    HYB_WALK(w, r->known);
    HYB_WALK(w, r->since);
    HYB_WALK(w, r->now);
    if (w->reads && !w->failed) r->now = HYB_MIN(r->now, r->most);
}
#endif
