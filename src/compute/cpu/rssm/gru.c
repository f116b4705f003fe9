/* compute/cpu/rssm/gru: a gated recurrent cell (Cho et al. 2014) on panels, one tick at a time, and its way back.
 *
 *     z  = sigmoid(a_z + U_z h)     r = sigmoid(a_r + U_r h)     a: what W made of the input, bias included
 *     h~ = tanh(a_h + U_h (r * h))
 *     h' = (1 - z) * h + z * h~
 *
 * With d the gradient of h':
 *
 *     d_h~  = d z (1 - h~^2)           d_z = d (h~ - h) z (1 - z)
 *     d_rh  = U_h' d_h~                d_r = d_rh h r (1 - r)
 *     d_h  += d (1 - z) + d_rh r + U_z' d_z + U_r' d_r */
#ifndef HYB_COMPUTE_CPU_RSSM_GRU_C
#define HYB_COMPUTE_CPU_RSSM_GRU_C
#include "panel.c"

#ifndef HYBRID_NO_TRAIN

typedef struct hyb_gru {
    int n;          /* units */
    const float *u; /* (3 n, n): U_z, U_r, U_h */
    float *gates;   /* (3 n): a, and after the step z, r, h~ */
    float *rh;      /* (n): r * h */
    float *h;       /* (n): the state before each tick; after the last one, too */
} hyb_gru;

/* The columns `at` .. at + n are one tick, and the next n what comes after it. */
static void hyb_gru_step(const hyb_panel_lane *lane, const hyb_gru *g, int at, int n)
{
    const int64_t row = HYB_PANEL_ROW, units = g->n;
    float *gates = g->gates + at, *rh = g->rh + at, *h = g->h + at;
    int64_t i;
    int c;
    hyb_panel_forward(lane, g->u, g->n, 2 * g->n, g->n, h, n, gates, true);
    hyb_panel_act(lane, HYB_ACT_SIGMOID, gates, gates, 2 * g->n, n);
    for (i = 0; i < units; i++)
        for (c = 0; c < n; c++) rh[i * row + c] = gates[(units + i) * row + c] * h[i * row + c];
    hyb_panel_forward(lane, g->u + 2 * units * units, g->n, g->n, g->n, rh, n, gates + 2 * units * row, true);
    hyb_panel_act(lane, HYB_ACT_TANH, gates + 2 * units * row, gates + 2 * units * row, g->n, n);
    for (i = 0; i < units; i++)
        for (c = 0; c < n; c++) {
            const float z = gates[i * row + c], new_h = gates[(2 * units + i) * row + c];
            h[i * row + n + c] = (1.0f - z) * h[i * row + c] + z * new_h;
        }
}

/* dh: (n), of the states: what belongs to the columns after the tick is complete; dh of the tick gets its share added.
 * dgates (3 n): of a. drh (n): scratch of the same shape. */
static void hyb_gru_back(const hyb_panel_lane *lane, const hyb_gru *g, float *dh, float *dgates, float *drh, int at,
                         int n)
{
    const int64_t row = HYB_PANEL_ROW, units = g->n;
    const float *gates = g->gates + at, *h = g->h + at;
    float *d_new = dgates + 2 * units * row;
    int64_t i;
    int c;
    dh += at;
    dgates += at;
    d_new += at;
    drh += at;
    for (i = 0; i < units; i++)
        for (c = 0; c < n; c++) {
            const float z = gates[i * row + c], new_h = gates[(2 * units + i) * row + c], d = dh[i * row + n + c];
            d_new[i * row + c] = d * z * (1.0f - new_h * new_h);
            dgates[i * row + c] = d * (new_h - h[i * row + c]) * (z * (1.0f - z));
            dh[i * row + c] += d * (1.0f - z);
        }
    hyb_panel_back_x(lane, g->u + 2 * units * units, g->n, g->n, g->n, d_new, n, drh, false);
    for (i = 0; i < units; i++)
        for (c = 0; c < n; c++) {
            const float r = gates[(units + i) * row + c], d = drh[i * row + c];
            dgates[(units + i) * row + c] = d * h[i * row + c] * (r * (1.0f - r));
            dh[i * row + c] += d * r;
        }
    hyb_panel_back_x(lane, g->u, g->n, 2 * g->n, g->n, dgates, n, dh, true);
}

/* du (3 n, n) += over n_columns: all ticks at once, when all have gone back. */
static void hyb_gru_back_u(const hyb_panel_lane *lane, const hyb_gru *g, const float *dgates, float *du, int n_columns)
{
    const int64_t row = HYB_PANEL_ROW, units = g->n;
    hyb_panel_back_w(lane, du, g->n, 2 * g->n, g->n, dgates, g->h, n_columns);
    hyb_panel_back_w(lane, du + 2 * units * units, g->n, g->n, g->n, dgates + 2 * units * row, g->rh, n_columns);
}
#endif
#endif
