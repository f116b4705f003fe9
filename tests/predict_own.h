/* What models of somebody else's need so that tests can train them beside a predictor. */
#ifndef PREDICT_OWN_H
#define PREDICT_OWN_H
#include "private.h"
#include <math.h>

static double dice(uint64_t stream, uint64_t n) { return 2 * hyb_random_uniform(5, stream, n) - 1; }

/* own: params, weights, user and gradients; d: its other settings. */
static hybrid_trainer *own_trainer(const hybrid_trainable *own, hybrid_trainer_desc d)
{
    hybrid_trainer *t = NULL;
    hybrid_error e;
    d.own = own;
    d.rate = 3e-3f;
    CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
    return t;
}

/* A predictor that begins early; mark, go_back and user are the model's. */
static hybrid_predict_desc own_predict_desc(hybrid_trainer *t, hybrid_predict_mode mode)
{
    hybrid_predict_desc d;
    memset(&d, 0, sizeof d);
    d.trainer = t;
    d.mode = mode;
    d.warmup_steps = 20;
    d.full_steps = 10;
    d.window = 10;
    return d;
}

static hybrid_predictor *own_predictor(const hybrid_predict_desc *d)
{
    hybrid_predictor *p = NULL;
    hybrid_error e;
    CHECK(!hybrid_predictor_create(d, &p, &e), "%s", e.message);
    return p;
}
#endif
