/* predict/foresee: what the members say of the window to come, for up to 16 actions at once, and how far they agree.
 *
 * The members are a mixture, so variances add (law of total variance): the mean of theirs is what no member could know
 * (aleatoric), the variance of their means is what this ensemble does not know (epistemic). */
#ifndef HYB_PREDICT_FORESEE_C
#define HYB_PREDICT_FORESEE_C
#include "world.c"

/* For one action. Log losses: natural logarithms, less what the law said of them at the newest tick. */
typedef struct hyb_forecast {
    bool has_loss; /* else the next three are 0: two ticks are
                      needed to see how much the law misses by */
    float mean[HYB_HORIZONS], aleatoric[HYB_HORIZONS], epistemic[HYB_HORIZONS]; /* in 1, 2, 4, 8 windows; variances */
    float delta[HYB_DELTA_OUTPUTS]; /* means of the members' outputs: hyb_delta_coefficients makes c of them */
    float gain, gain_sigma;         /* true steps */
    float gain_chance;              /* P(gain > cost) */
    float ok;                       /* P(the loss after Correct lies within the band) */
    float spread;                   /* of the loss: sqrt(epistemic / (aleatoric + epistemic)), averaged: 0 .. 1 */
    float surprise; /* KL(posterior || prior) of the newest tick, nats: it showed what nobody expected */
} hyb_forecast;

/* P(a normal number < x) */
static float hyb_normal_below(float x)
{
    const float tail = hyb_gelu_tail_scalar(HYB_MIN(x < 0 ? -x : x, 14.6f));
    return x < 0 ? tail : 1.0f - tail;
}

/* Earlier ticks that follow each other up to the newest: at most 15. */
static int hyb_foresee_earlier(const hyb_replay *r)
{
    int n = 0;
    while (n < HYB_PANEL_TICKS - 1 && hyb_replay_has(r, r->n - 2 - n, hyb_replay_at(r, r->n - 1)->episode)) n++;
    return n;
}

/* The state before the newest tick: over the ticks before it, from zeros. */
static void hyb_foresee_state(const hyb_world *w, int member, hyb_rollout *s)
{
    const float *weights = w->weights + (size_t)member * HYB_MEMBER_ROOM;
    const hyb_replay *r = &w->replay;
    float *state = w->states + (size_t)member * HYB_WORLD_UNITS;
    const int n = hyb_foresee_earlier(r);
    int t, i;
    for (i = 0; i < HYB_WORLD_UNITS; i++) s->h[i * HYB_PANEL_ROW] = 0;
    for (t = 0; t < n; t++)
        for (i = 0; i < HYB_WORLD_INPUTS; i++) s->x[i * HYB_PANEL_ROW + t] = hyb_replay_at(r, r->n - 1 - n + t)->x[i];
    s->ticks = n;
    s->windows = 1;
    if (n) hyb_rollout_states(s, weights, NULL);
    for (i = 0; i < HYB_WORLD_UNITS; i++) state[i] = s->h[i * HYB_PANEL_ROW + n];
}

/* Beyond 3 deviations of a feature the members part: each has a straight line of its own there, which nothing has ever
 * corrected (after Osband et al. 2018, "randomized prior functions"). Left alone, they do not: the encoder's LayerNorm
 * hides how large its inputs are, and layers saturate, so that they agree as well on what nobody has seen. In units. */
static float hyb_foresee_astray(const hyb_world *w, int member, int horizon, const float *x)
{
    const float usual = 3.0f, slope = 0.05f;
    uint32_t random[4] = { 0, 0, 0, 0 };
    float sum = 0;
    int i;
    for (i = 0; i < HYB_WORLD_FEATURES; i++) {
        if (i % 4 == 0)
            hyb_world_random(w->seed, HYB_STREAM_ASTRAY, member, (uint64_t)horizon * HYB_WORLD_FEATURES + (uint64_t)i,
                             random);
        sum += (x[i] - hyb_clampf(x[i], -usual, usual)) * (random[i % 4] & 1 ? slope : -slope);
    }
    return sum;
}

typedef struct hyb_foresee_job {
    hyb_world *w;
    const float (*actions)[HYB_WORLD_ACTION];
    int n;
} hyb_foresee_job;

/* One tick, an action a column: into the outputs of a member. */
static void hyb_foresee_member(const hyb_foresee_job *job, int member, hyb_rollout *s)
{
    const hyb_world *w = job->w;
    const hyb_replay_tick *now = hyb_replay_at(&w->replay, w->replay.n - 1);
    const float *weights = w->weights + (size_t)member * HYB_MEMBER_ROOM;
    const float *state = w->states + (size_t)member * HYB_WORLD_UNITS;
    float *out = w->outputs + (size_t)member * (HYB_HEADS + 1) * HYB_PANEL_WINDOWS, logs[HYB_LATENT];
    int c, i;
    for (c = 0; c < job->n; c++) {
        for (i = 0; i < HYB_WORLD_FEATURES; i++) s->x[i * HYB_PANEL_ROW + c] = now->x[i];
        for (i = 0; i < HYB_WORLD_ACTION; i++)
            s->x[(HYB_WORLD_FEATURES + i) * HYB_PANEL_ROW + c] = hyb_replay_input(job->actions[c][i]);
        for (i = 0; i < HYB_WORLD_UNITS; i++) s->h[i * HYB_PANEL_ROW + c] = state[i];
        s->trunk_act[HYB_MISS_ROW + c] = now->miss;
    }
    s->ticks = 1;
    s->windows = job->n;
    hyb_rollout_states(s, weights, NULL);
    hyb_rollout_outputs(s, weights);
    for (c = 0; c < job->n; c++) {
        for (i = 0; i < HYB_HEADS; i++) out[i * HYB_PANEL_WINDOWS + c] = s->out[i * HYB_PANEL_ROW + c];
        for (i = 0; i < HYB_HORIZONS; i++) {
            float *mu = &out[(HYB_HEAD_MEAN + i) * HYB_PANEL_WINDOWS + c];
            *mu = hyb_trust_mean(&w->trusts[member], i, *mu, now->miss) + hyb_foresee_astray(w, member, i, now->x);
        }
        out[HYB_HEADS * HYB_PANEL_WINDOWS + c] = (float)hyb_latent_kl(s->q + c, s->p + c, logs);
    }
}

static void hyb_foresee_space(void *arg, int space, int lane)
{
    const hyb_foresee_job *job = (const hyb_foresee_job *)arg;
    int member;
    HYB_UNUSED(lane);
    for (member = space; member < job->w->n_members; member += job->w->n_spaces) {
        if (job->w->stale) hyb_foresee_state(job->w, member, &job->w->spaces[space]);
        hyb_foresee_member(job, member, &job->w->spaces[space]);
    }
}

/* ---- the members together ---------------------------------------------------------------------------------------- */

/* Of the normal numbers (mu, log s) at output `at` and `at_sigma`: mean, aleatoric and epistemic variance. */
static void hyb_foresee_mix(const hyb_world *w, int action, int at, int at_sigma, double mix[3])
{
    const int n = w->n_members;
    int m;
    mix[0] = mix[1] = mix[2] = 0;
    for (m = 0; m < n; m++) {
        const float *out = w->outputs + (size_t)m * (HYB_HEADS + 1) * HYB_PANEL_WINDOWS + action;
        const float s = hyb_clampf(out[at_sigma * HYB_PANEL_WINDOWS], HYB_SIGMA_LOW, HYB_SIGMA_HIGH);
        mix[0] += (double)out[at * HYB_PANEL_WINDOWS] / n;
        mix[1] += (double)hyb_exp_scalar(2.0f * s) / n;
    }
    for (m = 0; m < n; m++) {
        const float *out = w->outputs + (size_t)m * (HYB_HEADS + 1) * HYB_PANEL_WINDOWS + action;
        const double away = out[at * HYB_PANEL_WINDOWS] - mix[0];
        mix[2] += away * away / n;
    }
}

/* The rest: delta, chances, surprise. */
static void hyb_foresee_means(const hyb_world *w, int action, float cost, hyb_forecast *f)
{
    double delta[HYB_DELTA_OUTPUTS] = { 0 }, chance = 0, ok = 0, surprise = 0;
    const int n = w->n_members;
    int m, i;
    for (m = 0; m < n; m++) {
        const float *out = w->outputs + (size_t)m * (HYB_HEADS + 1) * HYB_PANEL_WINDOWS + action;
        const float mu = out[HYB_HEAD_GAIN * HYB_PANEL_WINDOWS];
        const float s = hyb_clampf(out[HYB_HEAD_GAIN_SIGMA * HYB_PANEL_WINDOWS], HYB_SIGMA_LOW, HYB_SIGMA_HIGH);
        for (i = 0; i < HYB_DELTA_OUTPUTS; i++) delta[i] += out[(HYB_HEAD_DELTA + i) * HYB_PANEL_WINDOWS];
        chance += hyb_normal_below((mu - cost / HYB_GAIN_UNIT) * hyb_exp_scalar(-s));
        ok += hyb_sigmoid_scalar(out[HYB_HEAD_OK * HYB_PANEL_WINDOWS]);
        surprise += out[HYB_HEADS * HYB_PANEL_WINDOWS];
    }
    for (i = 0; i < HYB_DELTA_OUTPUTS; i++) f->delta[i] = (float)(delta[i] / n);
    f->gain_chance = (float)(chance / n);
    f->ok = (float)(ok / n);
    f->surprise = (float)(surprise / n);
}

static void hyb_foresee_forecast(const hyb_world *w, int action, float cost, hyb_forecast *f)
{
    const float unit = hyb_replay_at(&w->replay, w->replay.n - 1)->unit;
    double mix[3], spread = 0;
    int h;
    memset(f, 0, sizeof *f);
    f->has_loss = unit > 0;
    for (h = 0; h < HYB_HORIZONS; h++) {
        hyb_foresee_mix(w, action, HYB_HEAD_MEAN + h, HYB_HEAD_SIGMA + h, mix);
        spread += sqrt(mix[2] / (mix[1] + mix[2])) / HYB_HORIZONS;
        f->mean[h] = (float)(mix[0] * unit);
        f->aleatoric[h] = (float)(mix[1] * unit * unit);
        f->epistemic[h] = (float)(mix[2] * unit * unit);
    }
    f->spread = (float)spread;
    hyb_foresee_mix(w, action, HYB_HEAD_GAIN, HYB_HEAD_GAIN_SIGMA, mix);
    f->gain = (float)(mix[0] * HYB_GAIN_UNIT);
    f->gain_sigma = (float)(sqrt(mix[1] + mix[2]) * HYB_GAIN_UNIT);
    hyb_foresee_means(w, action, cost, f);
}

/* Forecasts for n <= 16 actions after the newest tick. cost: what the gain has to exceed, in true steps. False: nothing
 * was seen yet. Nothing of the world changes that a later result depends on. */
static bool hyb_world_foresee(hyb_world *w, const float (*actions)[HYB_WORLD_ACTION], int n, float cost,
                              hyb_forecast *forecasts)
{
    hyb_foresee_job job;
    int i;
    if (!w->replay.n || n < 1 || n > HYB_PANEL_WINDOWS) return false;
    job.w = w;
    job.actions = actions;
    job.n = n;
    hyb_parallel(w->rt, w->n_spaces, hyb_foresee_space, &job);
    w->stale = false;
    for (i = 0; i < n; i++) hyb_foresee_forecast(w, i, cost, &forecasts[i]);
    return true;
}
#endif
