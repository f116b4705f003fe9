/* compute/cpu/recurrent_back: gradients of the ops of recurrent layers, in scalar C: the statement of NUMERICS.md, and
 * what every instruction set does in no other way. Whole sequences: runs begin with nothing. */
#ifndef HYB_COMPUTE_CPU_RECURRENT_BACK_C
#define HYB_COMPUTE_CPU_RECURRENT_BACK_C
#include "generic.c"

#ifndef HYBRID_NO_TRAIN

/* Whether a sum over rows of the batch goes to its place after this one: they go in chunks. */
HYB_INLINE bool hyb_rows_end(int64_t row, int64_t n_rows)
{
    return row % HYB_PRODUCT_P == HYB_PRODUCT_P - 1 || row == n_rows - 1;
}

/* ---- the short convolution --------------------------------------------------------------------------------------- */

/* What vectors work on some columns with, the first of which is `at`. */
enum { HYB_CONV_BACK_COLUMNS = 64 };
typedef struct hyb_conv_back_work {
    float u[HYB_TAPS_MAX][HYB_CONV_BACK_COLUMNS], w[HYB_TAPS_MAX][HYB_CONV_BACK_COLUMNS];
    float dw[HYB_TAPS_MAX][HYB_CONV_BACK_COLUMNS];
    int64_t at;
    int n;
} hyb_conv_back_work;

/* Adds ds u to the sums of the taps of a column, and those to dw after every HYB_PRODUCT_P rows of the batch. */
static void hyb_shortconv_back_w_generic(const hyb_op_shortconv_back *op, const float *u, float ds, int64_t row,
                                         int64_t n_rows, int64_t c, float *sums)
{
    int j;
    for (j = 0; j < op->n_taps; j++) {
        float *dw = op->dw + c * op->n_taps + j;
        sums[j] = hyb_fmaf(ds, u[j], sums[j]);
        if (!hyb_rows_end(row, n_rows)) continue;
        *dw = *dw + sums[j];
        sums[j] = 0;
    }
}

/* One run of a column: what ds is stands in the place of db until du is known. */
static void hyb_shortconv_back_run_generic(const hyb_op_shortconv_back *op, const hyb_run *run, int64_t n_rows,
                                           int64_t c, float *sums)
{
    const int64_t width = op->n_embd;
    const int back = op->n_taps - 1;
    float u[HYB_TAPS_MAX] = { 0 };
    int r, j;
    for (r = 0; r < run->n_rows; r++) {
        const int64_t row = run->first_row + r;
        const float *bcx = op->bcx + row * op->bcx_stride + c, dout = op->dout[row * op->dout_stride + c];
        float *d = op->dbcx + row * op->dbcx_stride + c, sum = 0;
        u[back] = bcx[0] * bcx[2 * width];
        for (j = 0; j < op->n_taps; j++) sum = hyb_fmaf(op->w[c * op->n_taps + j], u[j], sum);
        d[width] = dout * sum;
        d[0] = dout * bcx[width];
        if (op->dw) hyb_shortconv_back_w_generic(op, u, d[0], row, n_rows, c, sums);
        for (j = 0; j < back; j++) u[j] = u[j + 1];
    }
    for (r = 0; r < run->n_rows; r++) {
        const int64_t row = run->first_row + r;
        const float *bcx = op->bcx + row * op->bcx_stride + c;
        float *d = op->dbcx + row * op->dbcx_stride + c, du = 0;
        for (j = 0; j <= back && r + j < run->n_rows; j++)
            du = hyb_fmaf(op->w[c * op->n_taps + back - j], d[j * op->dbcx_stride], du);
        d[0] = du * bcx[2 * width];
        d[2 * width] = du * bcx[0];
    }
}
static void hyb_shortconv_back_generic(const hyb_op_shortconv_back *op, const hyb_batch *batch, int64_t at, int64_t n)
{
    int64_t c;
    int i;
    for (c = at; c < at + n; c++) {
        float sums[HYB_TAPS_MAX] = { 0 };
        for (i = 0; i < batch->n_runs; i++)
            hyb_shortconv_back_run_generic(op, &batch->runs[i], batch->n, c, sums);
    }
}

/* ---- the token shift --------------------------------------------------------------------------------------------- */

static void hyb_shift_back_generic(const hyb_op_shift_back *op, const hyb_batch *batch, int64_t at, int64_t n)
{
    int64_t c, row;
    int i, b, r;
    for (c = at; c < at + n; c++)
        for (b = 0; b < batch->n_runs; b++)
            for (r = 0; r < batch->runs[b].n_rows; r++) {
                float d = 0;
                row = batch->runs[b].first_row + r;
                for (i = 0; i < op->n_mix; i++) {
                    const float *dout = op->dout + i * op->plane + row * op->n_embd + c;
                    const float mix = op->mix[i * op->n_embd + c];
                    d = hyb_fmaf(dout[0], 1.0f - mix, d);
                    if (r + 1 < batch->runs[b].n_rows) d = hyb_fmaf(dout[op->n_embd], mix, d);
                }
                op->dx[row * op->n_embd + c] = d;
            }
    for (i = 0; op->dmix && i < op->n_mix; i++)
        for (c = at; c < at + n; c++) {
            float sum = 0, *dmix = op->dmix + i * op->n_embd + c;
            for (b = 0; b < batch->n_runs; b++)
                for (r = 0; r < batch->runs[b].n_rows; r++) {
                    const float *x = op->x + (batch->runs[b].first_row + r) * op->n_embd + c;
                    const float before = r ? x[-op->n_embd] : 0.0f;
                    row = batch->runs[b].first_row + r;
                    sum = hyb_fmaf(op->dout[i * op->plane + row * op->n_embd + c], before - x[0], sum);
                    if (!hyb_rows_end(row, batch->n)) continue;
                    *dmix = *dmix + sum;
                    sum = 0;
                }
        }
}

/* ---- RWKV-7 ------------------------------------------------------------------------------------------------------ */

/* What the way back makes of a row of a head, besides what the way forward made (hyb_wkv7_row). */
typedef struct hyb_wkv7_back_row {
    float dy[HYB_WKV_SIZE_MAX], dz[HYB_WKV_SIZE_MAX]; /* of y, and of what the gate multiplies */
    float sa[HYB_WKV_SIZE_MAX], dsa[HYB_WKV_SIZE_MAX];
    float dr[HYB_WKV_SIZE_MAX], dk[HYB_WKV_SIZE_MAX], dv[HYB_WKV_SIZE_MAX], dw[HYB_WKV_SIZE_MAX];
    float daway[HYB_WKV_SIZE_MAX], dback[HYB_WKV_SIZE_MAX];
    float dbonus;
} hyb_wkv7_back_row;

/* Sums of the weights' gradients over some rows of a head. */
typedef struct hyb_wkv7_sums {
    float k_k[HYB_WKV_SIZE_MAX], k_a[HYB_WKV_SIZE_MAX], r_k[HYB_WKV_SIZE_MAX];
    float ln_w[HYB_WKV_SIZE_MAX], ln_b[HYB_WKV_SIZE_MAX];
} hyb_wkv7_sums;

/* How an instruction set does what is of size^2. */
typedef struct hyb_wkv7_ways {
    void (*prepare)(const hyb_op_wkv7 *op, int64_t row, int64_t at, hyb_wkv7_row *t);
    void (*step)(float *m, int size, hyb_wkv7_row *t);
    void (*state_back)(float *g, const float *before, const float *after, int size, const hyb_wkv7_row *t,
                       hyb_wkv7_back_row *d);
} hyb_wkv7_ways;

/* dout -> dgate, dz, dbonus, and dy of what y was before its norm. */
static void hyb_wkv7_back_out(const hyb_op_wkv7_back *op, int64_t row, int64_t at, const hyb_wkv7_row *t,
                              hyb_wkv7_back_row *d, hyb_wkv7_sums *sums)
{
    const hyb_op_wkv7 *of = &op->of;
    const float *dout = op->dout + row * op->dout_stride + at;
    const float *gate = of->gate ? of->gate + row * of->stride + at : NULL;
    float *dgate = gate ? op->dgate + row * of->stride + at : NULL, y[HYB_WKV_SIZE_MAX], stats[2];
    hyb_op_norm_back back;
    int i;
    memcpy(y, t->y, sizeof y);
    if (of->ln_w) {
        const hyb_op_norm norm = hyb_wkv7_norm(of, at);
        hyb_norm_group_generic(&norm, t->y, y);
    }
    for (i = 0; i < of->size; i++) {
        d->dz[i] = gate ? dout[i] * gate[i] : dout[i];
        if (gate) dgate[i] = dout[i] * hyb_fmaf(t->bonus, t->v[i], y[i]);
    }
    hyb_row_dot_generic(d->dz, t->v, of->size, &d->dbonus);
    memcpy(d->dy, d->dz, sizeof d->dy);
    if (!of->ln_w) return;
    memset(&back, 0, sizeof back);
    back.kind = HYB_NORM_LAYER;
    back.eps = of->eps;
    back.n = of->size;
    back.w = of->ln_w + at;
    hyb_norm_back_generic(&back, t->y, d->dz, NULL, d->dy, stats);
    for (i = 0; i < of->size; i++) {
        sums->ln_w[i] = hyb_fmaf(d->dz[i], (t->y[i] - stats[0]) * stats[1], sums->ln_w[i]);
        sums->ln_b[i] = sums->ln_b[i] + d->dz[i];
    }
}

/* g: G after the row, which becomes that before it; before and after: M. */
static void hyb_wkv7_state_back_generic(float *g, const float *before, const float *after, int size,
                                        const hyb_wkv7_row *t, hyb_wkv7_back_row *d)
{
    int i, j;
    for (i = 0; i < size; i++) d->sa[i] = d->dsa[i] = d->dv[i] = 0;
    for (j = 0; j < size; j++)
        for (i = 0; i < size; i++) d->sa[i] = hyb_fmaf(before[j * size + i], t->away[j], d->sa[i]);
    for (j = 0; j < size; j++) {
        float *row = g + j * size;
        for (i = 0; i < size; i++) row[i] = hyb_fmaf(d->dy[i], t->r[j], row[i]);
        hyb_row_dot_generic(after + j * size, d->dy, size, &d->dr[j]);
        hyb_row_dot_generic(row, t->v, size, &d->dk[j]);
        hyb_row_dot_generic(row, d->sa, size, &d->dback[j]);
        hyb_row_dot_generic(row, before + j * size, size, &d->dw[j]);
        for (i = 0; i < size; i++) {
            d->dv[i] = hyb_fmaf(row[i], t->k[j], d->dv[i]);
            d->dsa[i] = hyb_fmaf(row[i], t->back[j], d->dsa[i]);
        }
    }
    for (j = 0; j < size; j++) {
        float *row = g + j * size;
        for (i = 0; i < size; i++) row[i] = hyb_fmaf(d->dsa[i], t->away[j], row[i] * t->w[j]);
        hyb_row_dot_generic(before + j * size, d->dsa, size, &d->daway[j]);
    }
}

/* v: from the gradient of what it became to its own, that of v_first, and that of the gate between. */
static void hyb_wkv7_back_v(const hyb_op_wkv7_back *op, int64_t row, int64_t at, const hyb_wkv7_row *t,
                            const hyb_wkv7_back_row *d)
{
    const hyb_op_wkv7 *of = &op->of;
    const int64_t from = row * of->stride + at, first = row * of->v_first_stride + at;
    int i;
    for (i = 0; i < of->size; i++) {
        const float dv = hyb_fmaf(t->bonus, d->dz[i], d->dv[i]);
        float s, part;
        if (!of->v_first) {
            op->dv[from + i] = dv;
            continue;
        }
        s = hyb_sigmoid_scalar(of->value_gate[from + i]);
        part = dv * (of->v_first[first + i] - of->v[from + i]);
        op->dvalue_gate[from + i] = part * (s * (1.0f - s));
        op->dv_first[first + i] = hyb_fmaf(dv, s, op->dv_first[first + i]);
        op->dv[from + i] = dv * (1.0f - s);
    }
}

/* The rest: r, k, the decay, and the rate, through what prepare makes of them. */
static void hyb_wkv7_back_in(const hyb_op_wkv7_back *op, int64_t row, int64_t at, const hyb_wkv7_row *t,
                             const hyb_wkv7_back_row *d, hyb_wkv7_sums *sums)
{
    const hyb_op_wkv7 *of = &op->of;
    const int64_t from = row * of->stride + at;
    float u[HYB_WKV_SIZE_MAX], dkk[HYB_WKV_SIZE_MAX], a[HYB_WKV_SIZE_MAX], kk[HYB_WKV_SIZE_MAX], norm, along;
    int j;
    for (j = 0; j < of->size; j++) {
        u[j] = of->k[from + j] * of->k_k[at + j];
        kk[j] = -t->away[j];
        a[j] = hyb_sigmoid_scalar(of->rate[from + j]);
        dkk[j] = hyb_fmaf(d->dback[j], a[j], -d->daway[j]);
    }
    norm = sqrtf(hyb_sum_squares_generic(u, 0.0f, of->size));
    hyb_row_dot_generic(kk, dkk, of->size, &along);
    if (!(norm > 1e-12f)) along = 0; /* a direction of no length is only scaled */
    norm = 1.0f / hyb_max_scalar(1e-12f, norm);
    for (j = 0; j < of->size; j++) {
        const float k = of->k[from + j], k_a = of->k_a[at + j], less = a[j] - 1.0f, r_k = of->r_k[at + j];
        const float s = hyb_sigmoid_scalar(of->decay[from + j]), du = hyb_fmaf(-kk[j], along, dkk[j]) * norm;
        const float dk = hyb_fmaf(d->dbonus, t->r[j] * r_k, d->dk[j]);
        const float da = hyb_fmaf(dk * k, k_a, d->dback[j] * kk[j]);
        sums->r_k[j] = hyb_fmaf(d->dbonus, t->r[j] * t->k[j], sums->r_k[j]);
        sums->k_a[j] = hyb_fmaf(dk * k, less, sums->k_a[j]);
        sums->k_k[j] = hyb_fmaf(du, k, sums->k_k[j]);
        op->dr[from + j] = hyb_fmaf(d->dbonus, t->k[j] * r_k, d->dr[j]);
        op->dk[from + j] = hyb_fmaf(dk, hyb_fmaf(less, k_a, 1.0f), du * of->k_k[at + j]);
        op->drate[from + j] = da * (a[j] * (1.0f - a[j]));
        op->ddecay[from + j] = d->dw[j] * t->w[j] * -0.606531f * (s * (1.0f - s));
    }
}

static void hyb_wkv7_back_sums(const hyb_op_wkv7_back *op, int64_t at, const hyb_wkv7_sums *sums)
{
    int i;
    for (i = 0; i < op->of.size; i++) {
        op->dk_k[at + i] = op->dk_k[at + i] + sums->k_k[i];
        op->dk_a[at + i] = op->dk_a[at + i] + sums->k_a[i];
        op->dr_k[at + i] = op->dr_k[at + i] + sums->r_k[i];
        if (!op->of.ln_w) continue;
        op->dln_w[at + i] = op->dln_w[at + i] + sums->ln_w[i];
        op->dln_b[at + i] = op->dln_b[at + i] + sums->ln_b[i];
    }
}

/* M before every HYB_WKV_BACK_ROWS-th row of a run. m: room for one. */
static void hyb_wkv7_back_keep(const hyb_wkv7_ways *ways, const hyb_op_wkv7_back *op, const hyb_run *run, int64_t at,
                               float *m, float *kept)
{
    const size_t values = (size_t)op->of.size * (size_t)op->of.size;
    hyb_wkv7_row t;
    int r;
    memset(m, 0, values * sizeof *m);
    for (r = 0; r < run->n_rows; r++) {
        if (r % HYB_WKV_BACK_ROWS == 0) memcpy(kept + values * (size_t)(r / HYB_WKV_BACK_ROWS), m, values * sizeof *m);
        ways->prepare(&op->of, run->first_row + r, at, &t);
        ways->step(m, op->of.size, &t);
    }
}

/* Rows r0 .. r0 + n of a run, from the last to the first: states[0] is M before them, and there is room for M after
 * each. g: G after them, which becomes that before. */
static void hyb_wkv7_back_rows(const hyb_wkv7_ways *ways, const hyb_op_wkv7_back *op, int64_t row0, int n, int64_t at,
                               float *states, float *g)
{
    const int size = op->of.size;
    const size_t values = (size_t)size * (size_t)size;
    hyb_wkv7_sums sums;
    hyb_wkv7_row t;
    hyb_wkv7_back_row d;
    float y[HYB_WKV_BACK_ROWS][HYB_WKV_SIZE_MAX];
    int i;
    memset(&sums, 0, sizeof sums);
    memset(&d, 0, sizeof d);
    memset(&t, 0, sizeof t);
    for (i = 0; i < n; i++) {
        memcpy(states + values * (size_t)(i + 1), states + values * (size_t)i, values * sizeof *states);
        ways->prepare(&op->of, row0 + i, at, &t);
        ways->step(states + values * (size_t)(i + 1), size, &t);
        memcpy(y[i], t.y, sizeof t.y);
    }
    for (i = n - 1; i >= 0; i--) {
        const float *after = states + values * (size_t)(i + 1), *before = after - values;
        ways->prepare(&op->of, row0 + i, at, &t);
        memcpy(t.y, y[i], sizeof t.y);
        hyb_wkv7_back_out(op, row0 + i, at, &t, &d, &sums);
        ways->state_back(g, before, after, size, &t, &d);
        hyb_wkv7_back_v(op, row0 + i, at, &t, &d);
        hyb_wkv7_back_in(op, row0 + i, at, &t, &d, &sums);
    }
    if (op->dk_k) hyb_wkv7_back_sums(op, at, &sums);
}

static void hyb_wkv7_back_head(const hyb_wkv7_ways *ways, const hyb_op_wkv7_back *op, const hyb_batch *batch, int head,
                               float *scratch)
{
    const size_t values = (size_t)op->of.size * (size_t)op->of.size;
    float *g = scratch, *states = g + values, *kept = states + values * (HYB_WKV_BACK_ROWS + 1);
    int b, r0;
    for (b = 0; b < batch->n_runs; b++) {
        const hyb_run *run = &batch->runs[b];
        const int64_t at = (int64_t)head * op->of.size;
        hyb_wkv7_back_keep(ways, op, run, at, states, kept);
        memset(g, 0, values * sizeof *g);
        for (r0 = (run->n_rows - 1) / HYB_WKV_BACK_ROWS * HYB_WKV_BACK_ROWS; r0 >= 0; r0 -= HYB_WKV_BACK_ROWS) {
            memcpy(states, kept + values * (size_t)(r0 / HYB_WKV_BACK_ROWS), values * sizeof *states);
            hyb_wkv7_back_rows(ways, op, run->first_row + r0, HYB_MIN(run->n_rows - r0, (int)HYB_WKV_BACK_ROWS), at,
                               states, g);
        }
    }
}

static void hyb_wkv7_back_generic(const hyb_op_wkv7_back *op, const hyb_batch *batch, int head, float *scratch)
{
    static const hyb_wkv7_ways ways = { hyb_wkv7_prepare_generic, hyb_wkv7_step_generic, hyb_wkv7_state_back_generic };
    hyb_wkv7_back_head(&ways, op, batch, head, scratch);
}
#endif
#endif
