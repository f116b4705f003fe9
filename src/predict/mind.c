/* predict/mind: what the world models are shown of the run, and what of their forecast is used.
 *
 * A tick is a window. They learn from what it turned out to be as often as one part in a hundred of the run's own work
 * allows: on small models not at every window. */
#ifndef HYB_PREDICT_MIND_C
#define HYB_PREDICT_MIND_C
#include "foresee.c"
#include "state.c"
#include "world_learn.c"

#define HYB_MIND_SHARE     0.01 /* of the operations of training */
#define HYB_MIND_SHARE_GPU 1e-4 /* the same time, if they learn on the host, which does about 1 / 100 of a GPU's */

/* What they may use of the operations of a window. */
static double hyb_mind_share(const hybrid_predictor *p)
{
    return p->disp.store->device->ops->is_host ? HYB_MIND_SHARE : HYB_MIND_SHARE_GPU;
}

/* The action of mode A, so many times as far as usual; 0: nothing. */
static void hyb_mind_action(const hybrid_predictor *p, double scale, float action[HYB_WORLD_ACTION])
{
    memset(action, 0, sizeof *action * HYB_WORLD_ACTION);
    if (scale == 0) return;
    action[2] = p->desc.eta - 1;
    action[3] = (float)scale * p->desc.eta * p->desc.mu;
    action[5] = 1;
}

/* What this window tells of the last: which coefficients of b would have told it best, family by family; what the move
 * was worth. That of d stays where it is: in hindsight a d that is not gone back always looks better. */
static void hyb_mind_learn_of(hybrid_predictor *p, const hyb_family_sums *sums, bool judged, double reward)
{
    hyb_world_label label;
    int g;
    memset(&label, 0, sizeof label);
    label.has_delta = true;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        const double bb = sums[g].of[HYB_BB];
        label.c[g][0] = -0.3f;
        label.c[g][1] = bb > 0 ? (float)hyb_clamp(sums[g].of[HYB_DB] / bb, -1.0, 2.0) : 0;
        label.gram[g][0] = (float)sums[g].of[HYB_DD];
        label.gram[g][3] = (float)bb;
    }
    label.has_gain = judged;
    label.gain = (float)(reward * p->desc.window);
    hyb_world_know(p->world, hyb_world_now(p->world), &label);
}

/* The end of a window, whose features are in x. */
static void hyb_mind_window(hybrid_predictor *p, double rate, double targets)
{
    static const int horizons[HYB_HORIZONS] = { 1, 2, 4, 8 };
    const double s = p->law.total, window = rate * p->desc.window;
    float ahead[HYB_HORIZONS], actions[1][HYB_WORLD_ACTION];
    int i;
    for (i = 0; i < HYB_HORIZONS; i++) ahead[i] = (float)hyb_law_value(&p->law, s + (horizons[i] - 0.5) * window);
    hyb_world_tick(p->world, p->x, (float)p->band.last, (float)hyb_law_value(&p->law, s - 0.5 * window), ahead);
    p->now.work_owed += hyb_mind_share(p) * 6.0 * (double)p->disp.store->n_values * targets * p->desc.window;
    if (p->now.work_owed >= hyb_world_cost(p->world)) {
        p->now.work_owed = HYB_MIN(p->now.work_owed - hyb_world_cost(p->world), hyb_world_cost(p->world));
        hyb_world_learn(p->world);
    }
    hyb_mind_action(p, 1, actions[0]);
    p->foresees = hyb_world_foresee(p->world, (const float(*)[HYB_WORLD_ACTION])actions, 1, 0, &p->forecast);
}

/* The coefficients that they foresee as best, as parts of the usual ones; where they disagree, nearer to those. */
static void hyb_mind_scales(const hybrid_predictor *p, double scale[HYB_FAMILIES])
{
    float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS];
    int g;
    for (g = 0; g < HYB_FAMILIES; g++) scale[g] = 1;
    if (!p->world || !p->desc.learned || !p->foresees) return;
    hyb_delta_coefficients(p->forecast.delta, c);
    for (g = 0; g < HYB_FAMILIES; g++) scale[g] = 1 + (1 - (double)p->forecast.spread) * ((double)c[g][1] / 0.35 - 1);
}
#endif
