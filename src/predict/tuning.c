/* predict/tuning: what could be made better while a run goes on. Each part can be switched on and off by itself, and
 * says what it recommends; what a controller may carry out (steer.c) is another switch, which is off: changes of the
 * rate in the middle of a run make it another run, and a comparison with one that had none says nothing.
 *
 *     HEALTH      health.c        how much longer predictions should be, true steps, rate
 *     GROUPS      group_tuner.c   gradients of groups, shortened
 *     PLATEAU     plateau.c       rate, for a restart
 *     HORIZONS    horizons.c      how far ahead, and whether to verify
 *     BATCHES     ramp.c          batches of a step
 *
 * Lengths of phases by health, confidence and stability together are a rule of the controller's (ADAPTIVE in phases.c),
 * which is given the health from here. */
#ifndef HYB_PREDICT_TUNING_C
#define HYB_PREDICT_TUNING_C
#include "../api/predict.h"
#include "group_tuner.c"
#include "health.c"
#include "horizons.c"
#include "plateau.c"
#include "ramp.c"

enum {
    HYB_TUNE_HEALTH = HYBRID_TUNE_HEALTH,
    HYB_TUNE_GROUPS = HYBRID_TUNE_GROUPS,
    HYB_TUNE_PLATEAU = HYBRID_TUNE_PLATEAU,
    HYB_TUNE_HORIZONS = HYBRID_TUNE_HORIZONS,
    HYB_TUNE_BATCHES = HYBRID_TUNE_BATCHES,
    HYB_TUNE_ALL = HYBRID_TUNE_ALL
};

/* Zero: nothing is looked at. */
typedef struct hyb_tuning_desc {
    uint32_t parts;       /* HYB_TUNE_ bits: that look and recommend */
    uint32_t acts;        /* of these, those that the controller carries out */
    double lambda;        /* GROUPS; 0: the default */
    double fraction;      /* BATCHES; 0: the default */
    int64_t most_batches; /* BATCHES: of a step; 0: 64 */
} hyb_tuning_desc;

typedef struct hyb_tuning {
    hyb_tuning_desc desc;
    hyb_group_tuner groups;
    hyb_plateau plateau;
    hyb_horizons horizons;
    hyb_ramp ramp;
} hyb_tuning;

/* What is recommended; each field is as usual where its part is off or knows too little. acted: HYB_TUNE_ bits of the
 * parts whose fields the controller is to carry out, because they were switched on and have something to say. */
typedef struct hyb_advice {
    hyb_health health;
    double rate;                /* factor of the schedule's learning rate, for the next step alone */
    double raise;               /* of that, PLATEAU's part */
    double lengthen;            /* factor of a prediction's length */
    int32_t full;               /* true steps that should come first */
    double group[HYB_N_GROUPS]; /* factors of gradients */
    hyb_plateau_kind plateau;
    hyb_horizon_advice horizon;
    int32_t reach;   /* windows up to which predictions are useful; 0: not known, or not at all */
    int64_t batches; /* of a step */
    uint32_t acted;
} hyb_advice;

static void hyb_tuning_init(hyb_tuning *t, const hyb_tuning_desc *desc)
{
    memset(t, 0, sizeof *t);
    t->desc = *desc;
    t->desc.acts &= t->desc.parts;
    if (t->desc.most_batches < 1) t->desc.most_batches = 64;
    hyb_group_tuner_init(&t->groups, desc->lambda);
    hyb_plateau_init(&t->plateau);
    hyb_horizons_init(&t->horizons);
    hyb_ramp_init(&t->ramp, desc->fraction, t->desc.most_batches);
}

static bool hyb_tuning_has(const hyb_tuning *t, uint32_t part) { return (t->desc.parts & part) != 0; }

/* A prediction of 2^i windows is over; see hyb_horizons_add. */
static void hyb_tuning_predicted(hyb_tuning *t, int i, double predicted, double was, double before)
{
    if (hyb_tuning_has(t, HYB_TUNE_HORIZONS)) hyb_horizons_add(&t->horizons, i, predicted, was, before);
}

/* Health, and advice that changes nothing. */
static void hyb_tuning_usual(hyb_advice *a, const hyb_health *health, int64_t n_batches)
{
    int g;
    memset(a, 0, sizeof *a);
    a->health = *health;
    a->rate = a->raise = a->lengthen = 1;
    a->batches = n_batches;
    for (g = 0; g < HYB_N_GROUPS; g++) a->group[g] = 1;
}

static void hyb_tuning_groups(hyb_tuning *t, const double *grads, const double *weights, hyb_advice *a)
{
    int g;
    for (g = 0; g < HYB_N_GROUPS; g++) {
        a->group[g] = hyb_group_tuner_step(&t->groups, g, grads[g], weights[g]);
        if (a->group[g] < 1) a->acted |= HYB_TUNE_GROUPS;
    }
}

static void hyb_tuning_plateau(hyb_tuning *t, const hyb_sight *s, hyb_advice *a)
{
    const double raise = hyb_plateau_step(&t->plateau, s->loss, s->budget);
    a->plateau = (hyb_plateau_kind)t->plateau.kind;
    a->raise = raise;
    a->rate *= raise;
    if (raise > 1) a->acted |= HYB_TUNE_PLATEAU;
}

/* After a true step: what is recommended for the next. f has seen that step. grads and weights: norms of the groups'
 * (HYB_N_GROUPS) gradients and weights; NULL: they are not known. n_batches: of that step. */
static hyb_advice hyb_tuning_step(hyb_tuning *t, const hyb_features *f, double confidence, double uncertainty,
                                  const double *grads, const double *weights, int64_t n_batches)
{
    const hyb_sight *s = &f->last;
    const hyb_health health = hyb_health_of(f, confidence);
    hyb_advice a;
    hyb_tuning_usual(&a, &health, n_batches);
    if (hyb_tuning_has(t, HYB_TUNE_HEALTH) && health.known) {
        a.rate = health.rate;
        a.lengthen = health.lengthen;
        a.full = health.full;
        if (a.rate != 1 || a.lengthen != 1 || a.full) a.acted |= HYB_TUNE_HEALTH;
    }
    if (hyb_tuning_has(t, HYB_TUNE_GROUPS) && grads && weights) hyb_tuning_groups(t, grads, weights, &a);
    if (hyb_tuning_has(t, HYB_TUNE_PLATEAU)) hyb_tuning_plateau(t, s, &a);
    if (hyb_tuning_has(t, HYB_TUNE_HORIZONS)) {
        a.horizon = hyb_horizons_advise(&t->horizons, uncertainty);
        a.reach = hyb_horizons_reach(&t->horizons);
        a.acted |= HYB_TUNE_HORIZONS;
    }
    if (hyb_tuning_has(t, HYB_TUNE_BATCHES) && n_batches > 0) {
        a.batches = hyb_ramp_step(&t->ramp, s->noise_scale, n_batches, s->batch_tokens / (double)n_batches);
        if (a.batches != n_batches) a.acted |= HYB_TUNE_BATCHES;
    }
    a.acted &= t->desc.acts;
    return a;
}

static void hyb_tuning_walk(hyb_tuning *t, hyb_byte_walk *w)
{
    hyb_group_tuner_walk(&t->groups, w);
    hyb_plateau_walk(&t->plateau, w);
    hyb_horizons_walk(&t->horizons, w);
    hyb_ramp_walk(&t->ramp, w);
}
#endif
