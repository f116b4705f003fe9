/* train/schedule: the learning rate of a step. */
#ifndef HYB_TRAIN_SCHEDULE_C
#define HYB_TRAIN_SCHEDULE_C
#include "../api/trainer.h"
#include "../core/base.c"

static hybrid_result hyb_schedule_check(const hybrid_trainer_desc *d, hybrid_error *error)
{
    if ((int)d->schedule < 0 || d->schedule > HYBRID_SCHEDULE_WSD)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: there is no schedule %d",
                        (int)d->schedule);
    if (d->n_warmup < 0 || d->n_decay < 0 || d->n_steps < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: n_warmup, n_decay and n_steps may not be negative");
    if (d->schedule != HYBRID_SCHEDULE_CONSTANT && d->n_steps < 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: the schedule ends at n_steps, which is 0: say how many steps there "
                        "will be, or take HYBRID_SCHEDULE_CONSTANT");
    return HYBRID_OK;
}

/* How far a step is from the end of the warm-up (0) to the end of the schedule (1). */
static double hyb_schedule_progress(int64_t step, int64_t from, int64_t to)
{
    if (step >= to) return 1;
    return step <= from ? 0 : (double)(step - from) / (double)(to - from);
}

/* Of the step after `step` others. */
static double hyb_schedule_rate(const hybrid_trainer_desc *d, int64_t step)
{
    const double rate = (double)d->rate, end = (double)d->rate_end;
    double progress;
    if (step < d->n_warmup) return rate * (double)(step + 1) / (double)(d->n_warmup + 1);
    switch (d->schedule) {
    case HYBRID_SCHEDULE_LINEAR:
        progress = hyb_schedule_progress(step, d->n_warmup, d->n_steps);
        return rate + (end - rate) * progress;
    case HYBRID_SCHEDULE_COSINE:
        progress = hyb_schedule_progress(step, d->n_warmup, d->n_steps);
        return end + (rate - end) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
    case HYBRID_SCHEDULE_WSD:
        progress = hyb_schedule_progress(step, HYB_MAX(d->n_steps - d->n_decay, d->n_warmup), d->n_steps);
        return rate + (end - rate) * progress;
    default: return rate;
    }
}
#endif
