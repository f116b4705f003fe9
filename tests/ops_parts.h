/* ops_parts: how the ops are drawn by which recurrent layers, mixtures of experts and attention sinks are trained, and
 * what each is in double precision. Part of ops.h. */
#ifndef OPS_PARTS_H
#define OPS_PARTS_H

/* Whole sequences, as training has them: some of one row, some times more rows than a sum takes at a time. */
static void draw_sequences(side *s)
{
    hyb_batch *b = &s->batch;
    int i, r;
    draw_batch(s, 20); /* its pages */
    b->n_runs = draw_int(s, 1, 4);
    for (b->n = i = 0; i < b->n_runs; i++) {
        hyb_run *run = &s->runs[i];
        run->first_row = b->n;
        run->n_rows = draw_chance(s, 20) ? 1 : draw_chance(s, 50) ? draw_int(s, 2, 40) : draw_int(s, 41, 170);
        run->pages = s->pages[i]; /* of which nobody asks for any */
        run->pos = 0;
        run->slot_in = -1;
        run->slot_out = i;
        for (r = 0; r < run->n_rows; r++) s->pos[b->n + r] = r;
        b->n += run->n_rows;
    }
    b->n_out = 1;
    s->out[0] = b->n - 1;
    s->limits.n_rows = b->n;
    s->limits.n_seq = b->n_runs;
    s->limits.n_train = 170;
}

static void draw_shortconv_back(side *s, hyb_op_shortconv_back *op)
{
    draw_sequences(s);
    op->n_embd = draw_size(s, 300);
    op->n_taps = draw_chance(s, 60) ? 3 : draw_int(s, 1, HYB_TAPS_MAX);
    op->bcx_stride = draw_stride(s, 3 * op->n_embd);
    op->bcx = draw_rows(s, s->batch.n, 3 * op->n_embd, op->bcx_stride);
    op->w = draw_floats(s, op->n_embd * op->n_taps, 1);
    op->dout_stride = draw_stride(s, op->n_embd);
    op->dout = draw_rows(s, s->batch.n, op->n_embd, op->dout_stride);
    op->dbcx_stride = draw_stride(s, 3 * op->n_embd);
    op->dbcx = draw_rows(s, s->batch.n, 3 * op->n_embd, op->dbcx_stride);
    op->dw = draw_chance(s, 80) ? draw_floats(s, op->n_embd * op->n_taps, 1) : NULL;
    s->exact = 4e-6;
    s->near = 3e-5; /* sums of hundreds of rows */
}
static void exact_shortconv_back(side *s, const hyb_op_shortconv_back *op)
{
    const int back = op->n_taps - 1;
    double *u = (double *)malloc(3 * ROWS_MAX * sizeof *u), *ds = u + ROWS_MAX, *sum = ds + ROWS_MAX;
    int64_t c;
    int b, t, j;
    for (c = 0; c < op->n_embd; c++) {
        double dw[HYB_TAPS_MAX] = { 0 };
        for (b = 0; b < s->batch.n_runs; b++) {
            const hyb_run *run = &s->runs[b];
            const float *bcx = op->bcx + run->first_row * op->bcx_stride + c, *w = op->w + c * op->n_taps;
            const float *dout = op->dout + run->first_row * op->dout_stride + c;
            const float *d = op->dbcx + run->first_row * op->dbcx_stride + c;
            for (t = 0; t < run->n_rows; t++) {
                const float *row = bcx + t * op->bcx_stride;
                u[t] = (double)row[0] * row[2 * op->n_embd];
                for (sum[t] = 0, j = 0; j <= back; j++)
                    if (t - back + j >= 0) sum[t] += w[j] * u[t - back + j];
                ds[t] = (double)dout[t * op->dout_stride] * row[op->n_embd];
                for (j = 0; j <= back; j++)
                    if (t - back + j >= 0) dw[j] += ds[t] * u[t - back + j];
            }
            for (t = 0; t < run->n_rows; t++) {
                const float *row = bcx + t * op->bcx_stride;
                double du = 0;
                for (j = 0; j <= back; j++)
                    if (t + back - j < run->n_rows) du += w[j] * ds[t + back - j];
                want(s, d + t * op->dbcx_stride, du * row[2 * op->n_embd]);
                want(s, d + t * op->dbcx_stride + op->n_embd, dout[t * op->dout_stride] * sum[t]);
                want(s, d + t * op->dbcx_stride + 2 * op->n_embd, du * row[0]);
            }
        }
        for (j = 0; op->dw && j <= back; j++) want(s, op->dw + c * op->n_taps + j, op->dw[c * op->n_taps + j] + dw[j]);
    }
    free(u);
}

static void draw_shift_back(side *s, hyb_op_shift_back *op)
{
    draw_sequences(s);
    op->n_embd = draw_size(s, 400);
    op->n_mix = draw_chance(s, 40) ? 1 : draw_int(s, 2, 6);
    op->x = draw_rows(s, s->batch.n, op->n_embd, op->n_embd);
    op->mix = draw_rows(s, op->n_mix, op->n_embd, op->n_embd);
    op->plane = draw_stride(s, s->batch.n * op->n_embd);
    op->dout = draw_rows(s, op->n_mix, s->batch.n * op->n_embd, op->plane);
    op->dx = draw_rows(s, s->batch.n, op->n_embd, op->n_embd);
    op->dmix = draw_chance(s, 80) ? draw_rows(s, op->n_mix, op->n_embd, op->n_embd) : NULL;
    s->exact = 4e-6;
    s->near = 3e-5;
}
static void exact_shift_back(side *s, const hyb_op_shift_back *op)
{
    const int64_t e = op->n_embd;
    int64_t c;
    int i, b, t;
    for (c = 0; c < e; c++) {
        double dmix[6] = { 0 };
        for (b = 0; b < s->batch.n_runs; b++)
            for (t = 0; t < s->runs[b].n_rows; t++) {
                const int64_t row = s->runs[b].first_row + t;
                double d = 0;
                for (i = 0; i < op->n_mix; i++) {
                    const float *dout = op->dout + i * op->plane + row * e + c;
                    const double mix = op->mix[i * e + c];
                    d += dout[0] * (1 - mix);
                    if (t + 1 < s->runs[b].n_rows) d += dout[e] * mix;
                    dmix[i] += dout[0] * ((t ? (double)op->x[(row - 1) * e + c] : 0) - op->x[row * e + c]);
                }
                want(s, op->dx + row * e + c, d);
            }
        for (i = 0; op->dmix && i < op->n_mix; i++) want(s, op->dmix + i * e + c, op->dmix[i * e + c] + dmix[i]);
    }
}

/* ---- RWKV-7 ------------------------------------------------------------------------------------------------------ */

/* A row's gradients: where the row is, or elsewhere. */
static float *draw_gradient(side *s, const float *row, int64_t n, int64_t stride)
{
    float *elsewhere = draw_rows(s, s->batch.n, n, stride);
    union {
        const float *in;
        float *out;
    } same;
    same.in = row;
    return draw_chance(s, 50) ? elsewhere : same.out;
}
static void draw_wkv7_back(side *s, hyb_op_wkv7_back *op)
{
    static const int sizes[] = { 64, 64, 16, 128, 32, 8, 40, 5, 100 };
    hyb_op_wkv7 *of = &op->of;
    bool still;
    int64_t width;
    int i;
    draw_sequences(s);
    of->size = sizes[draw_int(s, 0, 8)];
    for (i = 0; of->size > 64 && i < s->batch.n_runs; i++) /* of these few rows are enough */
        if (s->batch.n > 60) draw_sequences(s);
    of->n_head = of->size > 32 ? 1 : draw_int(s, 1, 3);
    width = (int64_t)of->n_head * of->size;
    of->stride = draw_stride(s, width);
    of->r = draw_rows(s, s->batch.n, width, of->stride);
    of->k = draw_rows(s, s->batch.n, width, of->stride);
    of->v = draw_rows(s, s->batch.n, width, of->stride);
    of->decay = draw_rows(s, s->batch.n, width, of->stride);
    of->rate = draw_rows(s, s->batch.n, width, of->stride);
    if (draw_chance(s, 70)) {
        of->v_first_stride = draw_stride(s, width);
        of->v_first = draw_rows(s, s->batch.n, width, of->v_first_stride);
        of->value_gate = draw_rows(s, s->batch.n, width, of->stride);
        op->dv_first = draw_rows(s, s->batch.n, width, of->v_first_stride);
        op->dvalue_gate = draw_gradient(s, of->value_gate, width, of->stride);
    }
    if (draw_chance(s, 70)) of->gate = draw_rows(s, s->batch.n, width, of->stride);
    if (of->gate) op->dgate = draw_gradient(s, of->gate, width, of->stride);
    still = draw_chance(s, 15); /* a direction of no length; then y may be next to nothing, which its norm enlarges */
    of->k_k = draw_floats(s, width, still ? 0.0f : 1.0f);
    of->k_a = draw_floats(s, width, 1);
    of->r_k = draw_floats(s, width, 0.1f);
    of->ln_w = draw_chance(s, 70) ? draw_floats(s, width, 1) : NULL;
    of->ln_b = of->ln_w ? draw_floats(s, width, 1) : NULL;
    of->eps = 64e-5f;
    op->dout_stride = draw_stride(s, width);
    op->dout = draw_rows(s, s->batch.n, width, op->dout_stride);
    op->dr = draw_gradient(s, of->r, width, of->stride);
    op->dk = draw_gradient(s, of->k, width, of->stride);
    op->dv = draw_gradient(s, of->v, width, of->stride);
    op->ddecay = draw_gradient(s, of->decay, width, of->stride);
    op->drate = draw_gradient(s, of->rate, width, of->stride);
    if (draw_chance(s, 80)) {
        op->dk_k = draw_floats(s, width, 1);
        op->dk_a = draw_floats(s, width, 1);
        op->dr_k = draw_floats(s, width, 1);
        op->dln_w = of->ln_w ? draw_floats(s, width, 1) : NULL;
        op->dln_b = of->ln_w ? draw_floats(s, width, 1) : NULL;
    }
    s->limits.wkv_size = of->size;
    s->limits.n_wkv = of->n_head;
    s->exact = still ? 3e-4 : 1e-4;
    s->near = 3 * s->exact;
}

/* A row of a head in double: what the way forward made, and M after it. */
typedef struct wkv_row {
    double r[HYB_WKV_SIZE_MAX], k[HYB_WKV_SIZE_MAX], v[HYB_WKV_SIZE_MAX], w[HYB_WKV_SIZE_MAX], a[HYB_WKV_SIZE_MAX];
    double kk[HYB_WKV_SIZE_MAX], sa[HYB_WKV_SIZE_MAX], y[HYB_WKV_SIZE_MAX], norm, bonus, mean, scale;
} wkv_row;
static void wkv_forward(const hyb_op_wkv7 *of, int64_t row, int64_t at, const double *before, double *m, wkv_row *t)
{
    const int n = of->size;
    const int64_t from = row * of->stride + at;
    double var = 0;
    int i, j;
    memset(t, 0, sizeof *t);
    for (j = 0; j < n; j++) {
        t->r[j] = of->r[from + j];
        t->v[j] = of->v[from + j];
        if (of->v_first)
            t->v[j] += (of->v_first[row * of->v_first_stride + at + j] - t->v[j]) * sigmoid(of->value_gate[from + j]);
        t->w[j] = exp(-0.606531 * sigmoid(of->decay[from + j]));
        t->a[j] = sigmoid(of->rate[from + j]);
        t->kk[j] = (double)of->k[from + j] * of->k_k[at + j];
        t->norm += t->kk[j] * t->kk[j];
        t->k[j] = of->k[from + j] * (1 + (t->a[j] - 1) * of->k_a[at + j]);
        t->bonus += t->r[j] * t->k[j] * of->r_k[at + j];
    }
    t->norm = sqrt(t->norm);
    for (j = 0; j < n; j++) t->kk[j] /= OPS_LARGER(t->norm, 1e-12);
    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) t->sa[i] -= before[i * n + j] * t->kk[j];
        for (j = 0; j < n; j++) {
            m[i * n + j] = before[i * n + j] * t->w[j] + t->sa[i] * t->kk[j] * t->a[j] + t->v[i] * t->k[j];
            t->y[i] += m[i * n + j] * t->r[j];
        }
        t->mean += t->y[i] / n;
    }
    for (i = 0; i < n; i++) var += (t->y[i] - t->mean) * (t->y[i] - t->mean) / n;
    t->scale = 1 / sqrt(var + of->eps);
}
/* Sums over rows of the weights' gradients. */
typedef struct wkv_sums {
    double k_k[HYB_WKV_SIZE_MAX], k_a[HYB_WKV_SIZE_MAX], r_k[HYB_WKV_SIZE_MAX], ln_w[HYB_WKV_SIZE_MAX];
    double ln_b[HYB_WKV_SIZE_MAX];
} wkv_sums;
/* The way back through what stands after the recurrence: dz, and dy of y. Returns the gradient of the bonus. */
static double wkv_back_out(side *s, const hyb_op_wkv7_back *op, int64_t row, int64_t at, const wkv_row *t, double *dz,
                           double *dy, wkv_sums *sums)
{
    const hyb_op_wkv7 *of = &op->of;
    const int n = of->size;
    double g_mean = 0, gx_mean = 0, dbonus = 0;
    int i;
    for (i = 0; i < n; i++) {
        const double hat = (t->y[i] - t->mean) * t->scale, dout = op->dout[row * op->dout_stride + at + i];
        const double z = (of->ln_w ? hat * of->ln_w[at + i] + of->ln_b[at + i] : t->y[i]) + t->bonus * t->v[i];
        dz[i] = dout * (of->gate ? of->gate[row * of->stride + at + i] : 1);
        if (of->gate) want(s, op->dgate + row * of->stride + at + i, dout * z);
        dbonus += dz[i] * t->v[i];
        sums->ln_w[i] += dz[i] * hat;
        sums->ln_b[i] += dz[i];
        dy[i] = dz[i] * (of->ln_w ? of->ln_w[at + i] : 1);
        g_mean += dy[i] / n;
        gx_mean += dy[i] * hat / n;
    }
    for (i = 0; i < n && of->ln_w; i++) dy[i] = (dy[i] - g_mean - (t->y[i] - t->mean) * t->scale * gx_mean) * t->scale;
    return dbonus;
}
/* One row: g, the gradient of M after it, becomes that of M before it. */
static void wkv_back_row(side *s, const hyb_op_wkv7_back *op, int64_t row, int64_t at, const double *before,
                         const double *m, const wkv_row *t, double *g, wkv_sums *sums)
{
    enum { MAX = HYB_WKV_SIZE_MAX };
    const hyb_op_wkv7 *of = &op->of;
    const int n = of->size;
    const int64_t from = row * of->stride + at;
    double dz[MAX], dy[MAX], dr[MAX] = { 0 }, dk[MAX] = { 0 }, db[MAX] = { 0 }, dw[MAX] = { 0 }, dkk[MAX] = { 0 };
    double along = 0, dbonus = wkv_back_out(s, op, row, at, t, dz, dy, sums);
    int i, j;
    for (i = 0; i < n; i++) {
        double dsa = 0, dv = t->bonus * dz[i];
        for (j = 0; j < n; j++) {
            g[i * n + j] += dy[i] * t->r[j];
            dr[j] += m[i * n + j] * dy[i];
            dk[j] += g[i * n + j] * t->v[i];
            db[j] += g[i * n + j] * t->sa[i];
            dw[j] += g[i * n + j] * before[i * n + j];
            dv += g[i * n + j] * t->k[j];
            dsa += g[i * n + j] * t->kk[j] * t->a[j];
        }
        for (j = 0; j < n; j++) {
            dkk[j] -= before[i * n + j] * dsa;
            g[i * n + j] = g[i * n + j] * t->w[j] - dsa * t->kk[j];
        }
        if (of->v_first) {
            const float *dv_first = op->dv_first + row * of->v_first_stride + at + i;
            const double y = sigmoid(of->value_gate[from + i]), v = of->v[from + i];
            want(s, dv_first, *dv_first + dv * y);
            want(s, op->dvalue_gate + from + i,
                 dv * (of->v_first[row * of->v_first_stride + at + i] - v) * y * (1 - y));
            dv *= 1 - y;
        }
        want(s, op->dv + from + i, dv);
    }
    for (j = 0; j < n; j++) {
        dkk[j] += db[j] * t->a[j];
        along += dkk[j] * t->kk[j];
    }
    for (j = 0; j < n; j++) {
        const double k = of->k[from + j], a = t->a[j], y = sigmoid(of->decay[from + j]), r_k = of->r_k[at + j];
        const double du = (dkk[j] - (t->norm > 1e-12 ? t->kk[j] * along : 0)) / OPS_LARGER(t->norm, 1e-12);
        dk[j] += dbonus * t->r[j] * r_k;
        sums->r_k[j] += dbonus * t->r[j] * t->k[j];
        sums->k_a[j] += dk[j] * k * (a - 1);
        sums->k_k[j] += du * k;
        want(s, op->dr + from + j, dr[j] + dbonus * t->k[j] * r_k);
        want(s, op->dk + from + j, dk[j] * (1 + (a - 1) * of->k_a[at + j]) + du * of->k_k[at + j]);
        want(s, op->drate + from + j, (db[j] * t->kk[j] + dk[j] * k * of->k_a[at + j]) * a * (1 - a));
        want(s, op->ddecay + from + j, dw[j] * t->w[j] * -0.606531 * y * (1 - y));
    }
}
static void exact_wkv7_back(side *s, const hyb_op_wkv7_back *op)
{
    const int n = op->of.size, nn = n * n;
    wkv_row *t = (wkv_row *)malloc(200 * sizeof *t);
    double *m = (double *)malloc(201 * (size_t)nn * sizeof *m), *g = (double *)malloc((size_t)nn * sizeof *g);
    int h, b, r, j;
    for (h = 0; h < op->of.n_head; h++) {
        const int64_t at = (int64_t)h * n;
        wkv_sums sums;
        memset(&sums, 0, sizeof sums);
        for (b = 0; b < s->batch.n_runs; b++) {
            const hyb_run *run = &s->runs[b];
            memset(m, 0, (size_t)nn * sizeof *m);
            memset(g, 0, (size_t)nn * sizeof *g);
            for (r = 0; r < run->n_rows; r++)
                wkv_forward(&op->of, run->first_row + r, at, m + r * nn, m + (r + 1) * nn, &t[r]);
            for (r = run->n_rows - 1; r >= 0; r--)
                wkv_back_row(s, op, run->first_row + r, at, m + r * nn, m + (r + 1) * nn, &t[r], g, &sums);
        }
        for (j = 0; j < n && op->dk_k; j++) {
            want(s, op->dk_k + at + j, op->dk_k[at + j] + sums.k_k[j]);
            want(s, op->dk_a + at + j, op->dk_a[at + j] + sums.k_a[j]);
            want(s, op->dr_k + at + j, op->dr_k[at + j] + sums.r_k[j]);
            if (!op->of.ln_w) continue;
            want(s, op->dln_w + at + j, op->dln_w[at + j] + sums.ln_w[j]);
            want(s, op->dln_b + at + j, op->dln_b[at + j] + sums.ln_b[j]);
        }
    }
    free(t);
    free(m);
    free(g);
}

/* ---- experts ----------------------------------------------------------------------------------------------------- */

static void draw_route_back(side *s, hyb_op_route_back *op)
{
    int32_t *ids;
    float *x;
    int r, i;
    op->kind = (hyb_route_kind)draw_int(s, 0, 1);
    op->n = draw_int(s, 1, 9);
    op->n_expert = draw_chance(s, 10) ? 1 : draw_int(s, 2, 140);
    op->n_used = draw_int(s, 1, OPS_SMALLER(op->n_expert, 9));
    op->norm = draw_chance(s, 50);
    op->scale = draw_chance(s, 50) ? 1 : 2.5f;
    x = (float *)malloc((size_t)(op->n * op->n_expert) * sizeof *x);
    ids = (int32_t *)malloc((size_t)(op->n * op->n_used) * sizeof *ids);
    for (i = 0; i < op->n * op->n_expert; i++) x[i] = draw_float(s) * 4;
    for (r = 0; r < op->n; r++)
        for (i = 0; i < op->n_expert; i++) {
            const int place = placed(x + r * op->n_expert, op->n_expert, i);
            if (place < op->n_used) ids[r * op->n_used + place] = i;
        }
    op->logits = (const float *)area_new(s, AREA_FLOATS, x, (size_t)(op->n * op->n_expert) * sizeof *x, 0);
    op->ids = (const int32_t *)area_new(s, AREA_INTS, ids, (size_t)(op->n * op->n_used) * sizeof *ids, 0);
    op->dweights = draw_floats(s, op->n * op->n_used, 1);
    op->dlogits = draw_floats(s, op->n * op->n_expert, 1);
    s->exact = 2e-6;
    s->near = 1e-5;
}
/* By the matrix of derivatives of all weights by all scores. */
static void exact_route_back(side *s, const hyb_op_route_back *op)
{
    int r, i, j, u;
    for (r = 0; r < op->n; r++) {
        const float *x = op->logits + r * op->n_expert;
        const int32_t *ids = op->ids + r * op->n_used;
        double p[160], in[160] = { 0 }, sum = 0;
        for (u = 0; u < op->n_used; u++) in[ids[u]] = 1;
        for (i = 0; i < op->n_expert; i++) sum += p[i] = op->norm && in[i] == 0 ? 0 : exp((double)x[i] - x[ids[0]]);
        for (j = 0; j < op->n_expert; j++) {
            double d = 0;
            for (u = 0; u < op->n_used; u++) {
                const double a = p[ids[u]] / sum, b = p[j] / sum, y = sigmoid((double)x[j]);
                const double by = op->kind == HYB_ROUTE_SIGMOID ? (ids[u] == j) * y * (1 - y) : a * ((ids[u] == j) - b);
                d += (double)op->dweights[r * op->n_used + u] * op->scale * by;
            }
            want(s, op->dlogits + r * op->n_expert + j, d);
        }
    }
}

static void draw_weigh(side *s, hyb_op_weigh *op)
{
    op->n_rows = draw_int(s, 1, 40);
    op->n = draw_size(s, 1100);
    op->x_stride = draw_stride(s, op->n);
    op->out_stride = draw_chance(s, 50) ? op->x_stride : draw_stride(s, op->n);
    op->out = draw_rows(s, op->n_rows, op->n, op->out_stride);
    op->x =
        op->out_stride == op->x_stride && draw_chance(s, 60) ? op->out : draw_rows(s, op->n_rows, op->n, op->x_stride);
    op->y_stride = draw_stride(s, op->n);
    op->y = draw_chance(s, 60) ? draw_rows(s, op->n_rows, op->n, op->y_stride) : NULL;
    op->weights = draw_floats(s, op->n_rows, 1);
    op->dots = op->y ? draw_floats(s, op->n_rows, 1) : NULL;
    s->exact = 2e-6;
    s->near = 1e-5;
}
static void exact_weigh(side *s, const hyb_op_weigh *op)
{
    int64_t r, i;
    for (r = 0; r < op->n_rows; r++) {
        double dot = 0;
        for (i = 0; i < op->n; i++) {
            const double x = op->x[r * op->x_stride + i];
            if (op->y) dot += x * op->y[r * op->y_stride + i];
            want(s, op->out + r * op->out_stride + i, x * op->weights[r]);
        }
        if (op->y) want(s, op->dots + r, dot);
    }
}

static void draw_experts_back(side *s, hyb_op_experts_back *op)
{
    const hybrid_type type = draw_chance(s, 70) ? HYBRID_TYPE_F32 : draw_type(s);
    const int n_expert = draw_int(s, 2, 9), k = draw_k(s, type, 300), rows = draw_chance(s, 60) ? 9 : 330;
    int64_t outs = 0, all;
    int32_t *ids;
    int r, u, i;
    op->n = draw_int(s, 1, rows);
    op->n_used = draw_int(s, 1, OPS_SMALLER(n_expert, 4));
    op->x_each = draw_chance(s, 50);
    op->dy_each = draw_chance(s, 50);
    op->dx_each = draw_chance(s, 50);
    op->n_out = draw_int(s, 1, 2);
    ids = (int32_t *)malloc((size_t)(op->n * op->n_used) * sizeof *ids);
    for (r = 0; r < op->n; r++) {
        const int first = draw_chance(s, 70) ? 0 : draw_int(s, 0, n_expert - 1); /* many choose the same */
        for (u = 0; u < op->n_used; u++) ids[r * op->n_used + u] = (first + u) % n_expert;
    }
    op->ids = (const int32_t *)area_new(s, AREA_INTS, ids, (size_t)(op->n * op->n_used) * sizeof *ids, 0);
    op->x_stride = draw_stride(s, k);
    op->x = draw_rows(s, op->x_each ? op->n * op->n_used : op->n, k, op->x_stride);
    for (i = 0; i < op->n_out; i++) {
        const int out = draw_size(s, 130);
        op->out[i].w = draw_matrix(s, type, k, out, n_expert);
        op->out[i].dy_stride = draw_stride(s, out);
        op->out[i].dy = draw_rows(s, op->dy_each ? op->n * op->n_used : op->n, out, op->out[i].dy_stride);
        op->out[i].dw = draw_chance(s, 80) ? draw_floats(s, (int64_t)n_expert * out * k, 1) : NULL;
        outs += out;
    }
    op->dx = draw_rows(s, op->dx_each ? op->n * op->n_used : op->n, k, k);
    if (!op->dx_each) op->add = draw_chance(s, 30) ? NULL : draw_chance(s, 50) ? op->dx : draw_rows(s, op->n, k, k);
    all = hyb_experts_back_work((int64_t)op->n * op->n_used, n_expert, k, outs);
    op->work = (float *)area_new(s, AREA_SCRATCH, calloc((size_t)all, sizeof(float)), (size_t)all * sizeof(float), 0);
    s->limits.n_rows = op->n;
    s->limits.n_expert_used = op->n_used;
    s->limits.n_train = 1;
    s->exact = 4e-6;
    s->near = 1e-5;
}
static void exact_experts_back(side *s, const hyb_op_experts_back *op)
{
    const int64_t k = op->out[0].w->ne[0];
    double *dx = (double *)calloc((size_t)(op->n * op->n_used * k), sizeof *dx);
    float *row = (float *)malloc((size_t)k * sizeof *row);
    int64_t c, j, o, e;
    int i;
    for (i = 0; i < op->n_out; i++) {
        const int64_t out = op->out[i].w->ne[1], n_expert = op->out[i].w->ne[2];
        double *dw = (double *)calloc((size_t)(n_expert * out * k), sizeof *dw);
        for (e = 0; e < n_expert; e++)
            for (o = 0; o < out; o++) {
                decoded(op->out[i].w, e, o, row);
                for (c = 0; c < op->n * op->n_used; c++) {
                    const float *x = op->x + (op->x_each ? c : c / op->n_used) * op->x_stride;
                    const double dy = op->out[i].dy[(op->dy_each ? c : c / op->n_used) * op->out[i].dy_stride + o];
                    if (op->ids[c] != e) continue;
                    for (j = 0; j < k; j++) {
                        dx[c * k + j] += dy * row[j];
                        dw[(e * out + o) * k + j] += dy * x[j];
                    }
                }
            }
        for (j = 0; op->out[i].dw && j < n_expert * out * k; j++) want(s, op->out[i].dw + j, op->out[i].dw[j] + dw[j]);
        free(dw);
    }
    for (c = 0; c < op->n * op->n_used; c++)
        for (j = 0; j < k; j++) {
            if (op->dx_each)
                want(s, op->dx + c * k + j, dx[c * k + j]);
            else if (c % op->n_used)
                dx[c / op->n_used * op->n_used * k + j] += dx[c * k + j];
        }
    for (c = 0; c < op->n && !op->dx_each; c++)
        for (j = 0; j < k; j++)
            want(s, op->dx + c * k + j, dx[c * op->n_used * k + j] + (op->add ? op->add[c * k + j] : 0));
    free(dx);
    free(row);
}

/* ---- attention with sinks: a case of its own, so that the draws of the others stay ------------------------------- */

static void draw_sinks_back(side *s, hyb_op_attention_back *op)
{
    draw_attention_back(s, op);
    op->sinks = draw_floats(s, op->n_head, draw_chance(s, 30) ? 10.0f : 1.0f);
    op->dsinks = draw_floats(s, op->n_head, 1);
    op->sink_rows = (float *)area_new(s, AREA_SCRATCH, calloc((size_t)(s->batch.n * op->n_head), sizeof(float)),
                                      (size_t)(s->batch.n * op->n_head) * sizeof(float), 0);
}
/* Of a sink as of one more key, whose value is 0 and whose score is the sink. */
static void exact_sinks_back_row(side *s, const hyb_op_attention_back *op, const hyb_run *run, int r, int h, double *dk,
                                 double *dv, double *dsinks)
{
    const hyb_kv_view *kv = op->kv;
    const int dim_k = kv->head_dim_k, dim_v = kv->head_dim_v, head = h / (op->n_head / kv->n_head_kv);
    const int64_t row = run->first_row + r;
    const float *q = op->q + row * op->q_stride + h * dim_k, *out = op->out + row * op->out_stride + h * dim_v;
    const float *dout = op->dout + row * op->out_stride + h * dim_v;
    const int first = op->window > 0 ? OPS_LARGER(r - op->window + 1, 0) : 0;
    double dq[512] = { 0 }, e[ROWS_MAX], capped[ROWS_MAX], sum = exp((double)op->sinks[h]), delta = 0;
    int p, i;
    for (i = 0; i < dim_v; i++) delta += (double)dout[i] * out[i];
    for (p = first; p <= r; p++) {
        const char *k = hyb_k_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        double score = 0;
        for (i = 0; i < dim_k; i++) score += (double)hyb_kv_value_generic(kv->type, k, i) * q[i];
        score *= op->scale;
        capped[p] = op->softcap > 0 ? tanh(score / op->softcap) : 0;
        sum += e[p] = exp(op->softcap > 0 ? op->softcap * capped[p] : score);
    }
    dsinks[h] -= exp((double)op->sinks[h]) / sum * delta;
    for (p = first; p <= r; p++) {
        const char *k = hyb_k_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        const char *v = hyb_v_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        double d = 0;
        for (i = 0; i < dim_v; i++) {
            d += (double)dout[i] * hyb_kv_value_generic(kv->type, v, i);
            dv[p * dim_v + i] += e[p] / sum * dout[i];
        }
        d = e[p] / sum * (d - delta) * (1 - capped[p] * capped[p]) * op->scale;
        for (i = 0; i < dim_k; i++) {
            dq[i] += d * hyb_kv_value_generic(kv->type, k, i);
            dk[p * dim_k + i] += d * q[i];
        }
    }
    for (i = 0; i < dim_k; i++) want(s, op->dq + row * op->stride + h * dim_k + i, dq[i]);
}
static void exact_sinks_back(side *s, const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    const int dim_k = kv->head_dim_k, dim_v = kv->head_dim_v, group = op->n_head / kv->n_head_kv;
    double *dsinks = (double *)calloc((size_t)op->n_head, sizeof *dsinks);
    int i, head, h, r, c;
    for (i = 0; i < s->batch.n_runs; i++)
        for (head = 0; head < kv->n_head_kv; head++) {
            const hyb_run *run = &s->runs[i];
            double *dk = (double *)calloc((size_t)(run->n_rows * (dim_k + dim_v)), sizeof *dk);
            double *dv = dk + run->n_rows * dim_k;
            for (h = head * group; h < (head + 1) * group; h++)
                for (r = 0; r < run->n_rows; r++) exact_sinks_back_row(s, op, run, r, h, dk, dv, dsinks);
            for (r = 0; r < run->n_rows; r++) {
                const int64_t at = (run->first_row + r) * op->stride;
                for (c = 0; c < dim_k; c++) want(s, op->dk + at + head * dim_k + c, dk[r * dim_k + c]);
                for (c = 0; c < dim_v; c++) want(s, op->dv + at + head * dim_v + c, dv[r * dim_v + c]);
            }
            free(dk);
        }
    for (h = 0; h < op->n_head; h++) want(s, op->dsinks + h, op->dsinks[h] + dsinks[h]);
    free(dsinks);
}
#endif
