/* compute/cpu/rssm/rollout: a member runs over up to 16 windows of up to 16 ticks, and its gradients run back (BPTT).
 *
 *     tick t:  x -> e -> posterior (h_t, e_t) -> z_t -> GRU -> h_t+1 -> heads (h_t+1, z_t)
 *              h_t -> prior of z_t
 *
 * What needs no state is computed for all ticks at once: the encoder, the parts of the gates and of the posterior that
 * read e, then priors and heads, and all gradients of weights. Tick by tick go only z_t and h_t+1. */
#ifndef HYB_COMPUTE_CPU_RSSM_ROLLOUT_C
#define HYB_COMPUTE_CPU_RSSM_ROLLOUT_C
#include "gru.c"
#include "latent.c"

#ifndef HYBRID_NO_TRAIN

typedef struct hyb_rollout {
    hyb_panel_lane lane;
    int ticks, windows; /* of this run: at most 16 each; windows lie side by side, `windows` columns a tick */
    #define HYB_PANEL(name_, rows_) float *name_;
    HYB_ROLLOUT_PANELS(HYB_PANEL)
    #undef HYB_PANEL
} hyb_rollout;

static void hyb_rollout_ones(float *row)
{
    int i;
    for (i = 0; i < HYB_PANEL_ROW; i++) row[i] = 1;
}

/* Lays it out in memory: HYB_ROLLOUT_FLOATS zeros. */
static void hyb_rollout_init(hyb_rollout *s, const hyb_cpu_kernels *kernels, float *memory, float *scratch)
{
    s->lane.kernels = kernels;
    s->lane.scratch = scratch;
    s->ticks = s->windows = 0;
    #define HYB_PANEL(name_, rows_) \
        s->name_ = memory; \
        memory += (rows_)*HYB_PANEL_ROW;
    HYB_ROLLOUT_PANELS(HYB_PANEL)
    #undef HYB_PANEL
    hyb_rollout_ones(s->x + HYB_WORLD_INPUTS * HYB_PANEL_ROW);
    hyb_rollout_ones(s->in + HYB_WORLD_UNITS * HYB_PANEL_ROW);
    hyb_rollout_ones(s->h + HYB_WORLD_UNITS * HYB_PANEL_ROW);
    hyb_rollout_ones(s->post_act + HYB_WORLD_UNITS * HYB_PANEL_ROW);
    hyb_rollout_ones(s->pri_act + HYB_WORLD_UNITS * HYB_PANEL_ROW);
    hyb_rollout_ones(s->trunk_act + HYB_WORLD_UNITS * HYB_PANEL_ROW);
}

/* ---- encoder ----------------------------------------------------------------------------------------------------- */

/* (x - mean) / sqrt(variance + 1e-5) of each column, sums over the rows in their order. */
static void hyb_rollout_norm(hyb_rollout *s, const float *norm, int n)
{
    float mean[HYB_PANEL_ROW], square[HYB_PANEL_ROW];
    int i, c;
    for (c = 0; c < n; c++) mean[c] = square[c] = 0;
    for (i = 0; i < HYB_WORLD_UNITS; i++)
        for (c = 0; c < n; c++) mean[c] += s->normed[i * HYB_PANEL_ROW + c];
    for (c = 0; c < n; c++) mean[c] *= 1.0f / HYB_WORLD_UNITS;
    for (i = 0; i < HYB_WORLD_UNITS; i++)
        for (c = 0; c < n; c++) {
            const float x = s->normed[i * HYB_PANEL_ROW + c] - mean[c];
            s->normed[i * HYB_PANEL_ROW + c] = x;
            square[c] += x * x;
        }
    for (c = 0; c < n; c++) s->deviation[c] = 1.0f / sqrtf(square[c] * (1.0f / HYB_WORLD_UNITS) + 1e-5f);
    for (i = 0; i < HYB_WORLD_UNITS; i++)
        for (c = 0; c < n; c++) {
            const float x = s->normed[i * HYB_PANEL_ROW + c] * s->deviation[c];
            s->normed[i * HYB_PANEL_ROW + c] = x;
            s->encoded[i * HYB_PANEL_ROW + c] = x * norm[i] + norm[HYB_WORLD_UNITS + i];
        }
}

/* d: of encoded (128 rows), and then of encoder x. */
static void hyb_rollout_norm_back(const hyb_rollout *s, const float *norm, float *d, float *d_norm, int n)
{
    float mean[HYB_PANEL_ROW], product[HYB_PANEL_ROW];
    int i, c;
    for (c = 0; c < n; c++) mean[c] = product[c] = 0;
    for (i = 0; i < HYB_WORLD_UNITS; i++) {
        float by_factor = 0, by_term = 0;
        for (c = 0; c < n; c++) {
            const float g = d[i * HYB_PANEL_ROW + c], x = s->normed[i * HYB_PANEL_ROW + c];
            by_factor += g * x;
            by_term += g;
            mean[c] += g * norm[i];
            product[c] += g * norm[i] * x;
            d[i * HYB_PANEL_ROW + c] = g * norm[i];
        }
        d_norm[i] += by_factor;
        d_norm[HYB_WORLD_UNITS + i] += by_term;
    }
    for (c = 0; c < n; c++) {
        mean[c] *= 1.0f / HYB_WORLD_UNITS;
        product[c] *= 1.0f / HYB_WORLD_UNITS;
    }
    for (i = 0; i < HYB_WORLD_UNITS; i++)
        for (c = 0; c < n; c++) {
            const int64_t at = i * HYB_PANEL_ROW + c;
            d[at] = (d[at] - mean[c] - s->normed[at] * product[c]) * s->deviation[c];
        }
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

enum {
    HYB_IN_COLUMNS = HYB_WORLD_UNITS + 1 + HYB_LATENT, /* of gru_w and trunk */
    HYB_POST_COLUMNS = 2 * HYB_WORLD_UNITS + 1,
    HYB_LAYER_COLUMNS = HYB_WORLD_UNITS + 1, /* of a layer on 128 units and its bias */
    HYB_HEAD_COLUMNS = HYB_WORLD_UNITS + 2,
    HYB_IN_Z = (HYB_WORLD_UNITS + 1) * HYB_PANEL_ROW,    /* where z begins in `in` and d_in */
    HYB_MISS_ROW = (HYB_WORLD_UNITS + 1) * HYB_PANEL_ROW /* and r in trunk_act */
};

static hyb_gru hyb_rollout_gru(const hyb_rollout *s, const float *w)
{
    hyb_gru g;
    g.n = HYB_WORLD_UNITS;
    g.u = w + HYB_AT_gru_u;
    g.gates = s->gates;
    g.rh = s->rh;
    g.h = s->h;
    return g;
}

/* The posterior of the tick at column `at`, and z. random (4 for each column of the run), or NULL: z is q itself, what
 * a sample would be on average. */
static void hyb_rollout_latent(hyb_rollout *s, const float *w, int at, const uint32_t (*random)[HYB_LATENT_CHOICES])
{
    const int n = s->windows, layer = HYB_LAYER_COLUMNS;
    int c, i;
    hyb_panel_forward(&s->lane, w + HYB_AT_posterior + layer, HYB_POST_COLUMNS, HYB_WORLD_UNITS, HYB_WORLD_UNITS,
                      s->h + at, n, s->post + at, true);
    hyb_panel_act(&s->lane, HYB_ACT_SILU, s->post + at, s->post_act + at, HYB_WORLD_UNITS, n);
    hyb_panel_forward(&s->lane, w + HYB_AT_posterior2, layer, HYB_LATENT, layer, s->post_act + at, n, s->q_soft + at,
                      false);
    for (c = at; c < at + n; c++) {
        float *z = s->in + HYB_IN_Z + c;
        hyb_latent_chances(s->q_soft + c, s->q + c);
        if (random)
            hyb_latent_sample(s->q + c, random[c], z);
        else
            for (i = 0; i < HYB_LATENT; i++) z[i * HYB_PANEL_ROW] = s->q[i * HYB_PANEL_ROW + c];
    }
}

/* From x, and the states before tick 0, to all z and h. */
static void hyb_rollout_states(hyb_rollout *s, const float *w, const uint32_t (*random)[HYB_LATENT_CHOICES])
{
    const hyb_gru gru = hyb_rollout_gru(s, w);
    const int n = s->ticks * s->windows, layer = HYB_LAYER_COLUMNS;
    int t;
    hyb_panel_forward(&s->lane, w + HYB_AT_encoder, HYB_WORLD_INPUTS + 1, HYB_WORLD_UNITS, HYB_WORLD_INPUTS + 1, s->x,
                      n, s->normed, false);
    hyb_rollout_norm(s, w + HYB_AT_norm, n);
    hyb_panel_act(&s->lane, HYB_ACT_SILU, s->encoded, s->in, HYB_WORLD_UNITS, n);
    hyb_panel_forward(&s->lane, w + HYB_AT_gru_w, HYB_IN_COLUMNS, 3 * HYB_WORLD_UNITS, layer, s->in, n, s->gates,
                      false);
    hyb_panel_forward(&s->lane, w + HYB_AT_posterior, HYB_POST_COLUMNS, HYB_WORLD_UNITS, layer, s->in, n, s->post,
                      false);
    for (t = 0; t < n; t += s->windows) {
        hyb_rollout_latent(s, w, t, random);
        hyb_panel_forward(&s->lane, w + HYB_AT_gru_w + layer, HYB_IN_COLUMNS, 3 * HYB_WORLD_UNITS, HYB_LATENT,
                          s->in + HYB_IN_Z + t, s->windows, s->gates + t, true);
        hyb_gru_step(&s->lane, &gru, t, s->windows);
    }
}

/* The priors and the heads of all ticks, from their states. */
static void hyb_rollout_outputs(hyb_rollout *s, const float *w)
{
    const int n = s->ticks * s->windows, layer = HYB_LAYER_COLUMNS;
    int c;
    hyb_panel_forward(&s->lane, w + HYB_AT_prior, layer, HYB_WORLD_UNITS, layer, s->h, n, s->pri, false);
    hyb_panel_act(&s->lane, HYB_ACT_SILU, s->pri, s->pri_act, HYB_WORLD_UNITS, n);
    hyb_panel_forward(&s->lane, w + HYB_AT_prior2, layer, HYB_LATENT, layer, s->pri_act, n, s->p_soft, false);
    for (c = 0; c < n; c++) hyb_latent_chances(s->p_soft + c, s->p + c);
    hyb_panel_forward(&s->lane, w + HYB_AT_trunk, HYB_IN_COLUMNS, HYB_WORLD_UNITS, layer, s->h + s->windows, n,
                      s->trunk, false);
    hyb_panel_forward(&s->lane, w + HYB_AT_trunk + layer, HYB_IN_COLUMNS, HYB_WORLD_UNITS, HYB_LATENT, s->in + HYB_IN_Z,
                      n, s->trunk, true);
    hyb_panel_act(&s->lane, HYB_ACT_SILU, s->trunk, s->trunk_act, HYB_WORLD_UNITS, n);
    hyb_panel_forward(&s->lane, w + HYB_AT_head, HYB_HEAD_COLUMNS, HYB_HEADS, HYB_HEAD_COLUMNS, s->trunk_act, n, s->out,
                      false);
}
#endif
#endif
