/* predict/settings: what a predictor is asked for: defaults, and what cannot be. */
#ifndef HYB_PREDICT_SETTINGS_C
#define HYB_PREDICT_SETTINGS_C
#include "../api/predict.h"
#include "../core/base.c"

static void hyb_predict_defaults(hybrid_predict_desc *d)
{
    if (!d->warmup_steps) d->warmup_steps = 100;
    if (!d->full_steps) d->full_steps = 20;
    if (!d->window) d->window = 20;
    if (d->eta == 0) d->eta = 0.7f;
    if (d->mu == 0) d->mu = 0.5f;
    if (d->gamma == 0) d->gamma = 0.9f;
    if (d->beta == 0) d->beta = 0.5f;
    if (d->amplitude == 0) d->amplitude = 1;
    if (!d->horizon) d->horizon = d->mode == HYBRID_PREDICT_C ? 64 : 32;
    if (!d->correction_interval) d->correction_interval = 4;
    if (!d->correct_steps) d->correct_steps = 5;
    if (d->predict_until == 0) d->predict_until = 0.75f;
    if (d->trust == 0) d->trust = 0.7f;
    if (d->sigma == 0) d->sigma = 3;
    if (d->explodes == 0) d->explodes = 100;
    if (d->vanishes == 0) d->vanishes = 0.01f;
    if (!d->max_predict_steps) d->max_predict_steps = 15;
    if (!d->max_consecutive) d->max_consecutive = 5;
    if (d->confidence_threshold == 0) d->confidence_threshold = 0.85f;
    if (!d->most_batches) d->most_batches = 64;
    if (!d->audit_steps) d->audit_steps = 16;
    if (d->audit_share == 0) d->audit_share = 0.02f;
    if (d->fraction == 0) d->fraction = 0.5f;
}

/* A number of a descriptor, and between which it must be. */
typedef struct hyb_setting {
    const char *name;
    double value, least, most;
} hyb_setting;

static hybrid_result hyb_predict_check_audits(const hybrid_predict_desc *d, hybrid_error *error)
{
    const char *missing = NULL;
    if (!d->audit_every) return HYBRID_OK;
    if (d->audit_steps % 4)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_predictor_create: audit_steps is %d, and must be a multiple of 4", d->audit_steps);
    if (!d->mark || !d->go_back) missing = "mark and go_back: both branches read the same batches";
    if (d->no_snapshot) missing = "a snapshot: leave no_snapshot false";
    if (!missing) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predictor_create: audit_every needs %s", missing);
}

/* Numbers must be in their ranges. only: just this field's; NULL: all of them. */
static hybrid_result hyb_predict_check_rows(const hybrid_predict_desc *d, const char *only, const char *function,
                                            hybrid_error *error)
{
    const hyb_setting rows[] = {
        { "mode", (double)d->mode, HYBRID_PREDICT_AUTO, HYBRID_PREDICT_D },
        { "placebo", (double)d->placebo, HYBRID_PLACEBO_NONE, HYBRID_PLACEBO_MIRROR },
        { "warmup_steps", (double)d->warmup_steps, 1, 1e9 },
        { "full_steps", (double)d->full_steps, 1, 1e9 },
        { "window", (double)d->window, 2, 1e6 },
        { "eta", (double)d->eta, 0, 1 },
        { "mu", (double)d->mu, 0, 0.99 },
        { "gamma", (double)d->gamma, 0, 0.9999 },
        { "beta", (double)d->beta, 0, 2 },
        { "amplitude", (double)d->amplitude, -2, 2 },
        { "horizon", (double)d->horizon, 16, 128 },
        { "correction_interval", (double)d->correction_interval, 2, 8 },
        { "correct_steps", (double)d->correct_steps, 1, 1e6 },
        { "predict_until", (double)d->predict_until, 0, 1 },
        { "trust", (double)d->trust, 0.05, 2 },
        { "fraction", (double)d->fraction, 1e-6, 1 },
        { "members", (double)d->members, 0, 16 },
        { "sigma", (double)d->sigma, 1, 100 },
        { "explodes", (double)d->explodes, 2, 1e9 },
        { "vanishes", (double)d->vanishes, 1e-9, 0.5 },
        { "rule", (double)d->rule, HYBRID_RULE_AUTO, HYBRID_RULE_ADAPTIVE },
        { "max_predict_steps", (double)d->max_predict_steps, 1, 1e6 },
        { "max_consecutive", (double)d->max_consecutive, 1, 1e6 },
        { "confidence_threshold", (double)d->confidence_threshold, 0.001, 0.999 },
        { "tune", (double)d->tune, 0, HYBRID_TUNE_ALL },
        { "tune_acts", (double)d->tune_acts, 0, HYBRID_TUNE_ALL },
        { "most_batches", (double)d->most_batches, 1, 65536 },
        { "residuals", (double)d->residuals, 0, 1e6 },
        { "compress_rank", (double)d->compress_rank, 0, 60 },
        { "audit_every", (double)d->audit_every, 0, 1e9 },
        { "audit_steps", (double)d->audit_steps, 8, 128 },
        { "audit_share", (double)d->audit_share, 0, 1 },
    };
    size_t i;
    for (i = 0; i < HYB_COUNT(rows); i++)
        if ((!only || !strcmp(only, rows[i].name)) &&
            !(rows[i].value >= rows[i].least && rows[i].value <= rows[i].most))
            return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: %s is %g, and must be from %g to %g", function,
                            rows[i].name, rows[i].value, rows[i].least, rows[i].most);
    return HYBRID_OK;
}

static hybrid_result hyb_predict_check(const hybrid_predict_desc *d, hybrid_error *error)
{
    const hybrid_result r = hyb_predict_check_rows(d, NULL, "hybrid_predictor_create", error);
    if (r) return r;
    if (d->tune_acts & ~d->tune)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_predictor_create: tune_acts is %u, and tune is %u: what is carried out has to look on",
                        (unsigned)d->tune_acts, (unsigned)d->tune);
    if (d->rule != HYBRID_RULE_AUTO && d->mode != HYBRID_PREDICT_C)
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "hybrid_predictor_create: rule is %d, which predicts some steps in a row: only mode C does that",
            (int)d->rule);
    if (d->compress_rank && !d->residuals)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_predictor_create: compress_rank is %d and residuals is 0: factors belong to residuals",
                        (int)d->compress_rank);
    return hyb_predict_check_audits(d, error);
}
#endif
