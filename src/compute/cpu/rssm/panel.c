/* compute/cpu/rssm/panel: values of many ticks side by side, and products with them.
 *
 * A panel has a row for each feature and a column for each tick of each window: the windows of one tick stand side by
 * side, tick after tick, so that the 16 windows of a tick are the 16 columns that a kernel's tile is wide.
 *
 *               tick 0        tick 1              tick 15        (one more: of states, which begin before tick 0)
 *     feature 0 w0 w1 .. w15  w0 w1 .. w15  ...   w0 .. w15      w0 .. w15
 *     feature 1 ...
 *
 * A row of 272 floats (17 lines of a cache) also keeps the rows of one tick apart in the cache, which rows of a power
 * of two would not. A row of ones below the features makes a bias a column of its matrix.
 *
 * One lane works alone, on the kernels of the CPU: their order of every sum is that of NUMERICS.md ("Products of a
 * training pass"), so no result depends on the instruction set, nor on what other lanes do. */
#ifndef HYB_COMPUTE_CPU_RSSM_PANEL_C
#define HYB_COMPUTE_CPU_RSSM_PANEL_C
#include "../../op.c"
#include "../select.c"

#ifndef HYBRID_NO_TRAIN

typedef struct hyb_panel_lane {
    const hyb_cpu_kernels *kernels;
    float *scratch; /* HYB_PRODUCT_SCRATCH floats */
} hyb_panel_lane;

static void hyb_panel_product(const hyb_panel_lane *lane, const hyb_product_op *q)
{
    int64_t m;
    for (m = 0; m < q->m; m += HYB_PRODUCT_M)
        lane->kernels->product(q, m, HYB_MIN(m + HYB_PRODUCT_M, q->m), 0, q->n, lane->scratch);
}

/* y (m, n) = or += W (m, k) x (k, n). W: rows `stride` floats apart; x and y: n columns of panels. */
static void hyb_panel_forward(const hyb_panel_lane *lane, const float *w, int stride, int m, int k, const float *x,
                              int n, float *y, bool add)
{
    hyb_product_op q;
    memset(&q, 0, sizeof q);
    q.m = m;
    q.n = n;
    q.p = k;
    q.a = w;
    q.a_m = stride;
    q.a_p = 1;
    q.b = x;
    q.b_p = HYB_PANEL_ROW;
    q.b_n = 1;
    q.c = y;
    q.c_m = HYB_PANEL_ROW;
    q.add = add;
    q.a_near = n <= 2 * HYB_PANEL_WINDOWS; /* to pack W would cost as much as the product */
    hyb_panel_product(lane, &q);
}

/* dx (k, n) = or += W' dy, of y (m, n) = W (m, k) x. */
static void hyb_panel_back_x(const hyb_panel_lane *lane, const float *w, int stride, int m, int k, const float *dy,
                             int n, float *dx, bool add)
{
    hyb_product_op q;
    memset(&q, 0, sizeof q);
    q.m = k;
    q.n = n;
    q.p = m;
    q.a = w;
    q.a_m = 1;
    q.a_p = stride;
    q.b = dy;
    q.b_p = HYB_PANEL_ROW;
    q.b_n = 1;
    q.c = dx;
    q.c_m = HYB_PANEL_ROW;
    q.add = add;
    q.a_near = n <= 2 * HYB_PANEL_WINDOWS;
    hyb_panel_product(lane, &q);
}

/* dW (m, k) += dy x', over n columns. */
static void hyb_panel_back_w(const hyb_panel_lane *lane, float *dw, int stride, int m, int k, const float *dy,
                             const float *x, int n)
{
    hyb_product_op q;
    memset(&q, 0, sizeof q);
    q.m = m;
    q.n = k;
    q.p = n;
    q.a = dy;
    q.a_m = HYB_PANEL_ROW;
    q.a_p = 1;
    q.b = x;
    q.b_p = 1;
    q.b_n = HYB_PANEL_ROW;
    q.c = dw;
    q.c_m = stride;
    q.add = true;
    hyb_panel_product(lane, &q);
}

/* out = act(in), n columns of so many rows; in one go where most of a row is wanted. out may be in. */
static void hyb_panel_act(const hyb_panel_lane *lane, hyb_act_kind act, const float *in, float *out, int rows, int n)
{
    int r;
    if (n > HYB_PANEL_ROW / 2) {
        lane->kernels->glu(act, in, NULL, out, (int64_t)rows * HYB_PANEL_ROW);
        return;
    }
    for (r = 0; r < rows; r++) lane->kernels->glu(act, in + r * HYB_PANEL_ROW, NULL, out + r * HYB_PANEL_ROW, n);
}

/* d = d * act'(in), likewise: d was the gradient of act(in). */
static void hyb_panel_act_back(const hyb_panel_lane *lane, hyb_act_kind act, const float *in, float *d, int rows, int n)
{
    const int64_t row = HYB_PANEL_ROW;
    int r;
    if (n > HYB_PANEL_ROW / 2) {
        lane->kernels->glu_back(act, d, in, NULL, d, NULL, rows * row);
        return;
    }
    for (r = 0; r < rows; r++) lane->kernels->glu_back(act, d + r * row, in + r * row, NULL, d + r * row, NULL, n);
}
#endif
#endif
