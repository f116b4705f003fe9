/* train/optimizer: how gradients change weights: one row of a table for each optimizer, over the views of a store. */
#ifndef HYB_TRAIN_OPTIMIZER_C
#define HYB_TRAIN_OPTIMIZER_C
#include "../api/trainer.h"
#include "store.c"

/* An update of all parameters. */
typedef struct hyb_update {
    const hybrid_trainer_desc *desc;
    hyb_store *store;
    hyb_backend *be;
    double rate;   /* learning rate */
    double factor; /* of gradients, which clips them */
    int64_t step;  /* this one's number, from 1 on */
} hyb_update;

typedef struct hyb_optimizer {
    const char *name;
    const char *states[HYB_STATES]; /* names of the states in checkpoints; NULL: there are fewer */
    bool (*has)(const hybrid_trainer_desc *desc, const hyb_param *p, int state); /* a parameter has that state */
    void (*update)(const hyb_update *u, const hyb_param *p);
} hyb_optimizer;

static bool hyb_adamw_has(const hybrid_trainer_desc *desc, const hyb_param *p, int state)
{
    HYB_UNUSED(desc);
    HYB_UNUSED(p);
    HYB_UNUSED(state);
    return true;
}

static void hyb_adamw_update(const hyb_update *u, const hyb_param *p)
{
    const hybrid_trainer_desc *d = u->desc;
    hyb_op_adamw op;
    op.w = u->store->weights + p->at;
    op.m = hyb_store_state(u->store, p, 0);
    op.v = hyb_store_state(u->store, p, 1);
    op.grad = u->store->grads + p->at;
    op.n = p->n;
    op.factor = (float)u->factor;
    op.rate = (float)u->rate;
    op.beta1 = d->beta1;
    op.beta2 = d->beta2;
    op.c1 = (float)(1 / (1 - pow((double)d->beta1, (double)u->step)));
    op.c2 = (float)(1 / (1 - pow((double)d->beta2, (double)u->step)));
    op.eps = d->eps;
    op.decay = p->decays ? d->decay : 0;
    hyb_do_adamw(u->be, &op);
}

static const hyb_optimizer *hyb_optimizer_of(const hybrid_trainer_desc *desc)
{
    static const hyb_optimizer adamw = { "AdamW", { "m", "v" }, hyb_adamw_has, hyb_adamw_update };
    HYB_UNUSED(desc);
    return &adamw;
}

/* The states of all parameters, in a store that is not allocated yet. */
static void hyb_optimizer_states(const hyb_optimizer *o, const hybrid_trainer_desc *desc, hyb_store *s)
{
    int state, i;
    for (state = 0; state < HYB_STATES && o->states[state]; state++)
        for (i = 0; i < s->n_params; i++)
            if (o->has(desc, &s->params[i], state)) hyb_store_add_state(s, &s->params[i], state);
}

static void hyb_optimizer_update(const hyb_optimizer *o, const hyb_update *u)
{
    int i;
    for (i = 0; i < u->store->n_params; i++) o->update(u, &u->store->params[i]);
}
#endif
