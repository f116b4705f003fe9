/* compute/cpu/rssm/rollout_back: the gradients of a rollout, full BPTT over its ticks.
 *
 * The KL is balanced (Hafner et al. 2021): 0.5 max(1, KL(sg q || p)) teaches the prior, 0.1 max(1, KL(q || sg p)) holds
 * the posterior back; below one nat neither does anything. sg: taken as a constant. */
#ifndef HYB_COMPUTE_CPU_RSSM_ROLLOUT_BACK_C
#define HYB_COMPUTE_CPU_RSSM_ROLLOUT_BACK_C
#include "heads.c"
#include "rollout.c"

#ifndef HYBRID_NO_TRAIN

    #define HYB_KL_PRIOR     0.5f
    #define HYB_KL_POSTERIOR 0.1f
    #define HYB_KL_FREE      1.0 /* nats */

/* The loss of every tick of the last run (*taught, and *held of those held back, which its trust learns from), and its
 * gradients d_out, d_q and d_p; the gradient of z is added to d_q when the run goes back. */
static void hyb_rollout_loss(hyb_rollout *s, const hyb_heads_labels *labels, const hyb_share *share, hyb_trust *trust,
                             hyb_world_loss *taught, hyb_world_loss *held)
{
    const int n = s->ticks * s->windows;
    const float *miss = s->trunk_act + HYB_MISS_ROW;
    float logs[HYB_LATENT];
    int c, i;
    for (c = 0; c < n; c++) {
        double kl;
        for (i = 0; i < HYB_LATENT; i++) s->d_q[i * HYB_PANEL_ROW + c] = s->d_p[i * HYB_PANEL_ROW + c] = 0;
        for (i = 0; i < HYB_HEADS; i++) s->d_out[i * HYB_PANEL_ROW + c] = 0;
        if (share[c].role == HYB_ROLE_NONE) continue;
        hyb_heads_loss(s->out + c, miss[c], &labels[c], share[c].role, trust, s->d_out + c,
                       share[c].role == HYB_ROLE_TAUGHT ? taught : held);
        for (i = 0; i < HYB_HEADS; i++) s->d_out[i * HYB_PANEL_ROW + c] *= share[c].weight;
        kl = hyb_latent_kl(s->q + c, s->p + c, logs);
        taught->kl += kl;
        taught->n_ticks++;
        if (!(kl > HYB_KL_FREE)) continue;
        for (i = 0; i < HYB_LATENT; i++) {
            const int64_t at = i * HYB_PANEL_ROW + c;
            s->d_q[at] = HYB_KL_POSTERIOR * share[c].kl * logs[i];
            s->d_p[at] = -HYB_KL_PRIOR * share[c].kl * (s->q[at] / s->p[at]);
        }
    }
}

/* Heads and trunk: into d_h (of the states after each tick) and d_in's z. */
static void hyb_rollout_back_heads(hyb_rollout *s, const float *w, float *d)
{
    const int n = s->ticks * s->windows, layer = HYB_LAYER_COLUMNS;
    hyb_panel_back_w(&s->lane, d + HYB_AT_head, HYB_HEAD_COLUMNS, HYB_HEADS, HYB_HEAD_COLUMNS, s->d_out, s->trunk_act,
                     n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_head, HYB_HEAD_COLUMNS, HYB_HEAD_SIGMA, HYB_WORLD_UNITS, s->d_out, n,
                     s->d_trunk, false); /* not of the deviations */
    hyb_panel_act_back(&s->lane, HYB_ACT_SILU, s->trunk, s->d_trunk, HYB_WORLD_UNITS, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_trunk, HYB_IN_COLUMNS, HYB_WORLD_UNITS, layer, s->d_trunk, s->h + s->windows,
                     n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_trunk + layer, HYB_IN_COLUMNS, HYB_WORLD_UNITS, HYB_LATENT, s->d_trunk,
                     s->in + HYB_IN_Z, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_trunk, HYB_IN_COLUMNS, HYB_WORLD_UNITS, HYB_WORLD_UNITS, s->d_trunk, n,
                     s->d_h + s->windows, false);
    hyb_panel_back_x(&s->lane, w + HYB_AT_trunk + layer, HYB_IN_COLUMNS, HYB_WORLD_UNITS, HYB_LATENT, s->d_trunk, n,
                     s->d_in + HYB_IN_Z, false);
}

/* Priors: into d_h, of the states before each tick. */
static void hyb_rollout_back_prior(hyb_rollout *s, const float *w, float *d)
{
    const int n = s->ticks * s->windows, layer = HYB_LAYER_COLUMNS;
    int c;
    for (c = 0; c < n; c++) hyb_latent_back(s->p_soft + c, s->d_p + c);
    hyb_panel_back_w(&s->lane, d + HYB_AT_prior2, layer, HYB_LATENT, layer, s->d_p, s->pri_act, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_prior2, layer, HYB_LATENT, HYB_WORLD_UNITS, s->d_p, n, s->d_pri, false);
    hyb_panel_act_back(&s->lane, HYB_ACT_SILU, s->pri, s->d_pri, HYB_WORLD_UNITS, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_prior, layer, HYB_WORLD_UNITS, layer, s->d_pri, s->h, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_prior, layer, HYB_WORLD_UNITS, HYB_WORLD_UNITS, s->d_pri, n, s->d_h, true);
}

/* One tick: its state's gradient is complete. Through the cell, z, and the posterior, into the state before it. */
static void hyb_rollout_back_tick(hyb_rollout *s, const float *w, const hyb_gru *gru, int at)
{
    const int n = s->windows, layer = HYB_LAYER_COLUMNS;
    int c, i;
    hyb_gru_back(&s->lane, gru, s->d_h, s->d_gates, s->d_rh, at, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_gru_w + layer, HYB_IN_COLUMNS, 3 * HYB_WORLD_UNITS, HYB_LATENT,
                     s->d_gates + at, n, s->d_in + HYB_IN_Z + at, true);
    for (c = at; c < at + n; c++) {
        for (i = 0; i < HYB_LATENT; i++)
            s->d_q[i * HYB_PANEL_ROW + c] += s->d_in[HYB_IN_Z + i * HYB_PANEL_ROW + c]; /* straight through */
        hyb_latent_back(s->q_soft + c, s->d_q + c);
    }
    hyb_panel_back_x(&s->lane, w + HYB_AT_posterior2, layer, HYB_LATENT, HYB_WORLD_UNITS, s->d_q + at, n,
                     s->d_post + at, false);
    hyb_panel_act_back(&s->lane, HYB_ACT_SILU, s->post + at, s->d_post + at, HYB_WORLD_UNITS, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_posterior + layer, HYB_POST_COLUMNS, HYB_WORLD_UNITS, HYB_WORLD_UNITS,
                     s->d_post + at, n, s->d_h + at, true);
}

/* What the ticks left: the weights of gates and posterior, and the encoder. */
static void hyb_rollout_back_inputs(hyb_rollout *s, const float *w, const hyb_gru *gru, float *d)
{
    const int n = s->ticks * s->windows, layer = HYB_LAYER_COLUMNS;
    hyb_panel_back_w(&s->lane, d + HYB_AT_gru_w, HYB_IN_COLUMNS, 3 * HYB_WORLD_UNITS, HYB_IN_COLUMNS, s->d_gates, s->in,
                     n);
    hyb_gru_back_u(&s->lane, gru, s->d_gates, d + HYB_AT_gru_u, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_posterior2, layer, HYB_LATENT, layer, s->d_q, s->post_act, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_posterior, HYB_POST_COLUMNS, HYB_WORLD_UNITS, layer, s->d_post, s->in, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_posterior + layer, HYB_POST_COLUMNS, HYB_WORLD_UNITS, HYB_WORLD_UNITS,
                     s->d_post, s->h, n);
    hyb_panel_back_x(&s->lane, w + HYB_AT_gru_w, HYB_IN_COLUMNS, 3 * HYB_WORLD_UNITS, HYB_WORLD_UNITS, s->d_gates, n,
                     s->d_in, false);
    hyb_panel_back_x(&s->lane, w + HYB_AT_posterior, HYB_POST_COLUMNS, HYB_WORLD_UNITS, HYB_WORLD_UNITS, s->d_post, n,
                     s->d_in, true);
    hyb_panel_act_back(&s->lane, HYB_ACT_SILU, s->encoded, s->d_in, HYB_WORLD_UNITS, n);
    hyb_rollout_norm_back(s, w + HYB_AT_norm, s->d_in, d + HYB_AT_norm, n);
    hyb_panel_back_w(&s->lane, d + HYB_AT_encoder, HYB_WORLD_INPUTS + 1, HYB_WORLD_UNITS, HYB_WORLD_INPUTS + 1, s->d_in,
                     s->x, n);
}

/* d (HYB_MEMBER_SIZE) += the gradients of the last run, after hyb_rollout_loss. */
static void hyb_rollout_back(hyb_rollout *s, const float *w, float *d)
{
    const hyb_gru gru = hyb_rollout_gru(s, w);
    int t, i;
    for (i = 0; i < HYB_WORLD_UNITS; i++) memset(s->d_h + i * HYB_PANEL_ROW, 0, sizeof(float) * (size_t)s->windows);
    hyb_rollout_back_heads(s, w, d);
    hyb_rollout_back_prior(s, w, d);
    for (t = (s->ticks - 1) * s->windows; t >= 0; t -= s->windows) hyb_rollout_back_tick(s, w, &gru, t);
    hyb_rollout_back_inputs(s, w, &gru, d);
}
#endif
#endif
