/* predict_world_ref: a member of the world model once more, in double and plain loops, from the formulas of
 * src/predict/{member,gru,latent,heads}.c; and the cell of [R]. For test_predict_world.c. */
#ifndef PREDICT_WORLD_REF_H
#define PREDICT_WORLD_REF_H

enum { REF_COLUMNS = 16 };

static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_silu(double x) { return x / (1 + exp(-x)); }

/* ---- the cell of [R]: z, r, h~, h' from x and h, and its backward as printed there ------------------------------- */

typedef struct ref_cell {
    int inputs, units;
    const double *w, *u, *b; /* (3, units, inputs), (3, units, units), (3, units): z, r, h */
} ref_cell;

static void ref_cell_forward(const ref_cell *g, const double *x, const double *h, double *z, double *r, double *c,
                             double *out)
{
    int n = g->units, i, j, k;
    for (k = 0; k < 3; k++) /* r before h~ */
        for (i = 0; i < n; i++) {
            double a = g->b[k * n + i];
            for (j = 0; j < g->inputs; j++) a += g->w[((size_t)k * n + i) * g->inputs + j] * x[j];
            for (j = 0; j < n; j++) a += g->u[((size_t)k * n + i) * n + j] * (k == 2 ? r[j] * h[j] : h[j]);
            if (k == 0) z[i] = ref_sigmoid(a);
            if (k == 1) r[i] = ref_sigmoid(a);
            if (k == 2) c[i] = tanh(a);
        }
    for (i = 0; i < n; i++) out[i] = (1 - z[i]) * h[i] + z[i] * c[i];
}

/* d: of h'. da (3, units): of the pre-activations; dh: of h. */
static void ref_cell_back(const ref_cell *g, const double *h, const double *z, const double *r, const double *c,
                          const double *d, double *da, double *dh)
{
    int n = g->units, i, j;
    double *rh = (double *)calloc((size_t)n, sizeof *rh);
    for (i = 0; i < n; i++) {
        da[2 * n + i] = d[i] * z[i] * (1 - c[i] * c[i]);
        da[i] = d[i] * (c[i] - h[i]) * z[i] * (1 - z[i]);
        dh[i] = d[i] * (1 - z[i]);
    }
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) rh[j] += g->u[(2 * (size_t)n + i) * n + j] * da[2 * n + i];
    for (i = 0; i < n; i++) {
        da[n + i] = rh[i] * h[i] * r[i] * (1 - r[i]);
        dh[i] += rh[i] * r[i];
    }
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) dh[j] += g->u[(size_t)i * n + j] * da[i] + g->u[((size_t)n + i) * n + j] * da[n + i];
    free(rh);
}

/* ---- a member ---------------------------------------------------------------------------------------------------- */

/* What a run is about; what is frozen (samples; the other side of a KL, and q of the straight-through gradient) is that
 * of the weights at which gradients are taken. */
typedef struct ref_run {
    int ticks, windows;
    const double *x; /* (columns, 70) */
    const double *miss;
    const hyb_heads_labels *labels;
    const float *weight;
    const hyb_role *roles;
    const hyb_trust *trust;
    bool frozen; /* else what is frozen is taken from the run itself */
    double o0[REF_COLUMNS][HYB_HEADS], trunk0[REF_COLUMNS][130];
    double sample[REF_COLUMNS][HYB_LATENT], q0[REF_COLUMNS][HYB_LATENT], p0[REF_COLUMNS][HYB_LATENT];
    double q[REF_COLUMNS][HYB_LATENT], p[REF_COLUMNS][HYB_LATENT], out[REF_COLUMNS][HYB_HEADS], kl[REF_COLUMNS];
    double h[REF_COLUMNS + REF_COLUMNS][HYB_WORLD_UNITS];
} ref_run;

static const double *ref_at(const double *w, int at) { return w + at; }

/* y = W [x; 1; x2], columns as there are. */
static void ref_layer(const double *w, int rows, const double *x, int n, const double *x2, int n2, double *y)
{
    int i, j, columns = n + 1 + n2;
    for (i = 0; i < rows; i++) {
        y[i] = w[i * columns + n];
        for (j = 0; j < n; j++) y[i] += w[i * columns + j] * x[j];
        for (j = 0; j < n2; j++) y[i] += w[i * columns + n + 1 + j] * x2[j];
    }
}

static void ref_chances(const double *logits, double *p)
{
    int g, i;
    for (g = 0; g < 4; g++) {
        double sum = 0;
        for (i = 0; i < 8; i++) sum += exp(logits[8 * g + i]);
        for (i = 0; i < 8; i++) p[8 * g + i] = 0.99 * exp(logits[8 * g + i]) / sum + 0.01 / 8;
    }
}

static double ref_kl(const double *q, const double *p)
{
    double sum = 0;
    int i;
    for (i = 0; i < HYB_LATENT; i++) sum += q[i] * log(q[i] / p[i]);
    return sum;
}

static double ref_nll(double mu, double s, double y)
{
    return 0.5 * (y - mu) * (y - mu) * exp(-2 * s) + s + 0.5 * log(2 * 3.14159265358979323846);
}

/* mean and deviation: a tick that is taught teaches the mean, one that is held back the deviation, of what the trust
 * makes of the mean. */
static double ref_normal(const ref_run *r, int c, int at, int at_sigma, double a, double b, double y)
{
    if (r->roles[c] == HYB_ROLE_TAUGHT) return ref_nll(r->out[c][at], r->o0[c][at_sigma], y);
    return ref_nll(a * r->o0[c][at] + b * r->miss[c], r->out[c][at_sigma], y);
}

static double ref_heads(const ref_run *r, int c)
{
    const hyb_heads_labels *y = &r->labels[c];
    const double *o = r->out[c] + 4;
    const bool taught = r->roles[c] == HYB_ROLE_TAUGHT;
    double loss = 0, m = 1 + 1.5 * tanh(o[0]), q = fmin(1, 2 * ref_sigmoid(o[1]));
    int h, g, i, j;
    for (h = 0; h < 4; h++)
        if (y->has_loss >> h & 1) loss += ref_normal(r, c, h, 18 + h, r->trust->a[h], r->trust->b[h], y->y[h]);
    for (g = 0; g < 8 && y->has_delta && taught; g++) {
        static const int at[3][3] = { { 0, 1, 2 }, { 1, 3, 4 }, { 2, 4, 5 } };
        double v[3];
        v[0] = -0.6 * ref_sigmoid(o[10]) - y->c[g][0];
        v[1] = 0.35 * m * q * 2 * ref_sigmoid(o[2 + g]) - y->c[g][1];
        v[2] = 0.5 * fmax(0, tanh(o[11])) - y->c[g][2];
        for (i = 0; i < 3; i++)
            for (j = 0; j < 3; j++) loss += v[i] * y->gram[g][at[i][j]] * v[j];
    }
    if (y->has_gain) loss += ref_normal(r, c, 16, 22, 1, 0, y->gain);
    if (y->has_ok && taught) loss += 0.2 * log(1 + exp(y->ok ? -o[13] : o[13]));
    return loss;
}

static void ref_encoder(const double *w, const double *x, double *e)
{
    double mean = 0, square = 0;
    int i;
    ref_layer(ref_at(w, HYB_AT_encoder), 128, x, 70, NULL, 0, e);
    for (i = 0; i < 128; i++) mean += e[i] / 128;
    for (i = 0; i < 128; i++) square += (e[i] - mean) * (e[i] - mean) / 128;
    for (i = 0; i < 128; i++)
        e[i] = ref_silu((e[i] - mean) / sqrt(square + 1e-5) * w[HYB_AT_norm + i] + w[HYB_AT_norm + 128 + i]);
}

/* One tick: h becomes h'; fills q, p, out of column c, and returns what the heads cost. z = sample + q - q0. */
static double ref_tick(const double *w, ref_run *r, int c, double *h)
{
    double e[128], hidden[130], logits[32], z[32], ez[160], out[128], gz[128], gr[128], gc[128];
    static double gw[3 * 128 * 160], gb[3 * 128];
    ref_cell cell;
    int i, j;
    ref_encoder(w, r->x + 70 * c, e);
    ref_layer(ref_at(w, HYB_AT_posterior), 128, e, 128, h, 128, hidden);
    for (i = 0; i < 128; i++) hidden[i] = ref_silu(hidden[i]);
    ref_layer(ref_at(w, HYB_AT_posterior2), 32, hidden, 128, NULL, 0, logits);
    ref_chances(logits, r->q[c]);
    ref_layer(ref_at(w, HYB_AT_prior), 128, h, 128, NULL, 0, hidden);
    for (i = 0; i < 128; i++) hidden[i] = ref_silu(hidden[i]);
    ref_layer(ref_at(w, HYB_AT_prior2), 32, hidden, 128, NULL, 0, logits);
    ref_chances(logits, r->p[c]);
    for (i = 0; i < 32; i++) z[i] = r->sample[c][i] + r->q[c][i] - r->q0[c][i];
    memcpy(ez, e, sizeof e);
    memcpy(ez + 128, z, sizeof z);
    for (i = 0; i < 384; i++) {
        for (j = 0; j < 160; j++) gw[i * 160 + j] = w[HYB_AT_gru_w + i * 161 + j + (j >= 128)];
        gb[i] = w[HYB_AT_gru_w + i * 161 + 128];
    }
    cell.inputs = 160;
    cell.units = 128;
    cell.w = gw;
    cell.u = ref_at(w, HYB_AT_gru_u);
    cell.b = gb;
    ref_cell_forward(&cell, ez, h, gz, gr, gc, out);
    memcpy(h, out, sizeof out);
    ref_layer(ref_at(w, HYB_AT_trunk), 128, h, 128, z, 32, hidden);
    for (i = 0; i < 128; i++) hidden[i] = ref_silu(hidden[i]);
    ref_layer(ref_at(w, HYB_AT_head), HYB_HEADS, hidden, 128, &r->miss[c], 1, r->out[c]);
    if (!r->frozen) {
        memcpy(r->trunk0[c], hidden, sizeof hidden);
        memcpy(r->o0[c], r->out[c], sizeof r->o0[c]);
    }
    ref_layer(ref_at(w, HYB_AT_head) + 18 * 130, 5, r->trunk0[c], 128, &r->miss[c], 1, r->out[c] + 18);
    return r->roles[c] == HYB_ROLE_NONE ? 0 : ref_heads(r, c);
}

/* The loss of the run, with what is frozen as it is. */
static double ref_loss(const double *w, ref_run *r)
{
    double loss = 0;
    int t, i;
    memset(r->h, 0, sizeof r->h);
    for (t = 0; t < r->ticks; t++)
        for (i = 0; i < r->windows; i++) {
            const int c = t * r->windows + i;
            const double heads = ref_tick(w, r, c, r->h[i]);
            r->kl[c] = ref_kl(r->q[c], r->p[c]);
            if (r->roles[c] == HYB_ROLE_NONE) continue;
            loss += r->weight[c] * heads;
            if (ref_kl(r->q0[c], r->p0[c]) > 1)
                loss += r->weight[c] * (0.5 * ref_kl(r->q0[c], r->p[c]) + 0.1 * ref_kl(r->q[c], r->p0[c]));
        }
    return loss;
}
#endif
