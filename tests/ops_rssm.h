/* ops_rssm: how a step of learning of the predictor's world models is drawn, and what it is in double precision, in
 * plain loops over one column at a time. Part of ops.h. */
#ifndef OPS_RSSM_H
#define OPS_RSSM_H

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

/* A matrix whose outputs are of about `size`. */
static void rssm_draw_matrix(side *s, float *w, int rows, int columns, float size)
{
    const float width = size / sqrtf((float)columns);
    int i;
    for (i = 0; i < rows * columns; i++) w[i] = draw_float(s) * width;
}

/* Latents whose KL is above and below one nat; of one deviation the bound below is passed, of one that above. */
static void rssm_draw_weights(side *s, float *w)
{
    const int n = HYB_WORLD_UNITS;
    float *bias = w + HYB_AT_head + n;
    int i;
    rssm_draw_matrix(s, w + HYB_AT_encoder, n, HYB_WORLD_INPUTS + 1, 1);
    rssm_draw_matrix(s, w + HYB_AT_norm, 2, n, 3);
    rssm_draw_matrix(s, w + HYB_AT_gru_w, 3 * n, n + 1 + HYB_LATENT, 1);
    rssm_draw_matrix(s, w + HYB_AT_gru_u, 3 * n, n, 1);
    rssm_draw_matrix(s, w + HYB_AT_posterior, n, 2 * n + 1, 1);
    rssm_draw_matrix(s, w + HYB_AT_posterior2, HYB_LATENT, n + 1, 3);
    rssm_draw_matrix(s, w + HYB_AT_prior, n, n + 1, 1);
    rssm_draw_matrix(s, w + HYB_AT_prior2, HYB_LATENT, n + 1, 2);
    rssm_draw_matrix(s, w + HYB_AT_trunk, n, n + 1 + HYB_LATENT, 1);
    rssm_draw_matrix(s, w + HYB_AT_head, HYB_HEADS, n + 2, 1);
    for (i = 0; i < n; i++) w[HYB_AT_norm + i] += 1;
    for (i = 0; i < 2; i++) bias[(HYB_HEAD_SIGMA + 2 + i) * (n + 2)] = i ? -9.0f : 9.0f;
    for (i = HYB_MEMBER_SIZE; i < HYB_MEMBER_ROOM; i++) w[i] = 0;
}

/* What is known of a tick. The last horizon, whose deviation is as small as can be, and far off what its mean says, is
 * only asked of ticks that are never taught. */
static void rssm_draw_labels(side *s, hyb_heads_labels *y, bool taught)
{
    int g, i, j;
    memset(y, 0, sizeof *y);
    for (i = 0; i < HYB_HORIZONS; i++) y->y[i] = i == 2 ? 20 * draw_float(s) : i == 3 ? 0 : draw_float(s);
    y->has_loss = (unsigned)draw_int(s, 0, 15) & (taught ? 7u : 15u);
    y->has_delta = draw_chance(s, 70);
    y->has_gain = draw_chance(s, 70);
    y->has_ok = draw_chance(s, 70);
    y->gain = draw_float(s);
    y->ok = draw_chance(s, 50);
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        for (i = 0; i < HYB_DELTA_DIRECTIONS; i++) y->c[g][i] = draw_float(s);
        for (j = 0; j < HYB_DELTA_GRAM; j++) y->gram[g][j] = draw_float(s) * 0.1f;
    }
}

static void *rssm_area(side *s, area_kind kind, size_t bytes, int fill)
{
    return area_new(s, kind, memset(malloc(bytes), fill, bytes), bytes, 0);
}

/* One window alone, many, few columns, and more than are worth a wide tile. */
static void rssm_draw_sizes(side *s, hyb_op_rssm *op)
{
    op->ticks = s->turn % 4 == 0 ? draw_int(s, 2, 3) : s->turn % 4 == 1 ? 1 : s->turn % 4 == 2 ? 3 : draw_int(s, 5, 9);
    op->windows = s->turn % 4 == 1 ? draw_int(s, 1, 16) : s->turn % 4 == 2 ? 1 : draw_int(s, 2, 4);
    if (s->turn % 4 == 3) op->windows = 40 / op->ticks; /* 35 to 40 columns */
    if (s->turn % 16 == 15) op->ticks = op->windows = 16;
}

static void draw_rssm(side *s, hyb_op_rssm *op)
{
    const size_t members = s->turn % 3 == 1 ? 2 : 1, row = HYB_PANEL_ROW;
    float *w = (float *)malloc(members * HYB_MEMBER_ROOM * sizeof *w), *x;
    hyb_share *shares = (hyb_share *)calloc(members * row, sizeof *shares);
    hyb_heads_labels *labels = (hyb_heads_labels *)calloc(row, sizeof *labels);
    uint32_t *random = (uint32_t *)malloc(members * row * sizeof *op->random);
    double *trusts = (double *)malloc(members * sizeof(hyb_trust));
    size_t m, i;
    int c;
    op->n_members = (int)members;
    rssm_draw_sizes(s, op);
    x = (float *)memset(malloc((HYB_WORLD_INPUTS + 1) * row * sizeof *x), 0xFF, (HYB_WORLD_INPUTS + 1) * row * 4);
    for (m = 0; m < members; m++) rssm_draw_weights(s, w + m * HYB_MEMBER_ROOM);
    for (c = 0; c < op->ticks * op->windows; c++) {
        bool taught = false;
        for (i = 0; i <= HYB_WORLD_INPUTS; i++) x[i * row + (size_t)c] = draw_float(s);
        for (m = 0; m < members; m++) {
            hyb_share *share = &shares[m * row + (size_t)c];
            const int what = draw_int(s, 0, 9);
            share->role = what < 2 ? HYB_ROLE_NONE : what < 5 ? HYB_ROLE_HELD : HYB_ROLE_TAUGHT;
            share->weight = 1 + 0.4f * draw_float(s);
            share->kl = 1 + 0.4f * draw_float(s);
            taught = taught || share->role == HYB_ROLE_TAUGHT;
        }
        rssm_draw_labels(s, &labels[c], taught);
    }
    for (i = 0; i < members * row * HYB_LATENT_CHOICES; i++) random[i] = side_bits(s);
    for (i = 0; i < members * sizeof(hyb_trust) / sizeof *trusts; i++) trusts[i] = draw_float(s);
    for (m = 0; m < members; m++) { /* of the last horizon: the mean is not believed */
        ((hyb_trust *)(void *)trusts)[m].a[3] = 0;
        ((hyb_trust *)(void *)trusts)[m].b[3] = 0;
    }
    op->weights = (float *)area_new(s, AREA_FLOATS, w, members * HYB_MEMBER_ROOM * sizeof *w, 0);
    op->x = (float *)area_new(s, AREA_FLOATS, x, (HYB_WORLD_INPUTS + 1) * row * sizeof *x, 0);
    op->random =
        (const uint32_t(*)[HYB_LATENT_CHOICES])area_new(s, AREA_INTS, random, members * row * sizeof *op->random, 0);
    op->labels = (hyb_heads_labels *)area_new(s, AREA_BYTES, labels, row * sizeof *labels, 0);
    op->shares = (hyb_share *)area_new(s, AREA_BYTES, shares, members * row * sizeof *shares, 0);
    op->trusts = (hyb_trust *)area_new(s, AREA_DOUBLES, trusts, members * sizeof *op->trusts, 0);
    op->taught = (hyb_world_loss *)rssm_area(s, AREA_DOUBLES, members * sizeof *op->taught, 0);
    op->held = (hyb_world_loss *)rssm_area(s, AREA_DOUBLES, members * sizeof *op->held, 0);
    op->gradients = (float *)rssm_area(s, AREA_FLOATS, members * HYB_MEMBER_ROOM * sizeof(float), 0xFF);
    op->work = (float *)rssm_area(s, AREA_SCRATCH, members * HYB_ROLLOUT_FLOATS * sizeof(float), 0xFF);
    s->limits.n_train = 1;
    s->near = s->exact = 2e-5;
}

/* ---- the statement ----------------------------------------------------------------------------------------------- */

enum { RSSM_U = HYB_WORLD_UNITS };

/* All of one column; d_: gradients. */
typedef struct rssm_column {
    double x[HYB_WORLD_INPUTS + 1], normed[RSSM_U], scale, encoded[RSSM_U], in[RSSM_U + 1 + HYB_LATENT];
    double post[RSSM_U], post_act[RSSM_U + 1], q_soft[HYB_LATENT], q[HYB_LATENT], gates[3 * RSSM_U], rh[RSSM_U];
    double h[RSSM_U + 1], after[RSSM_U + 1], pri[RSSM_U], pri_act[RSSM_U + 1], p_soft[HYB_LATENT], p[HYB_LATENT];
    double trunk[RSSM_U], trunk_act[RSSM_U + 2], out[HYB_HEADS];
    double d_out[HYB_HEADS], d_q[HYB_LATENT], d_p[HYB_LATENT];
} rssm_column;

static double rssm_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double rssm_silu_back(double x) { return rssm_sigmoid(x) * (1 + x * (1 - rssm_sigmoid(x))); }

/* y += W x, W (rows, k) of a matrix with `of` columns. */
static void rssm_layer(const float *w, int of, int rows, int k, const double *x, double *y)
{
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < k; j++) y[i] += (double)w[i * of + j] * x[j];
}
/* dW += dy x^T, dx += W^T dy; dx may be NULL. */
static void rssm_layer_back(const float *w, double *dw, int of, int rows, int k, const double *x, const double *dy,
                            double *dx)
{
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < k; j++) {
            dw[i * of + j] += dy[i] * x[j];
            if (dx) dx[j] += (double)w[i * of + j] * dy[i];
        }
}
static void rssm_chances(double *soft, double *p)
{
    int g, i;
    for (g = 0; g < HYB_LATENT; g += HYB_LATENT_CLASSES) {
        double sum = 0;
        for (i = g; i < g + HYB_LATENT_CLASSES; i++) sum += soft[i] = exp(soft[i]);
        for (i = g; i < g + HYB_LATENT_CLASSES; i++) p[i] = 0.99 * (soft[i] /= sum) + 0.01 / HYB_LATENT_CLASSES;
    }
}
static void rssm_chances_back(const double *soft, const double *d, double *logits)
{
    int g, i;
    for (g = 0; g < HYB_LATENT; g += HYB_LATENT_CLASSES) {
        double mean = 0;
        for (i = g; i < g + HYB_LATENT_CLASSES; i++) mean += soft[i] * d[i];
        for (i = g; i < g + HYB_LATENT_CLASSES; i++) logits[i] = 0.99 * soft[i] * (d[i] - mean);
    }
}

static void rssm_encode(const float *w, rssm_column *t)
{
    double mean = 0, square = 0;
    int i;
    rssm_layer(w + HYB_AT_encoder, HYB_WORLD_INPUTS + 1, RSSM_U, HYB_WORLD_INPUTS + 1, t->x, t->normed);
    for (i = 0; i < RSSM_U; i++) mean += t->normed[i] / RSSM_U;
    for (i = 0; i < RSSM_U; i++) square += (t->normed[i] - mean) * (t->normed[i] - mean) / RSSM_U;
    t->scale = 1 / sqrt(square + 1e-5);
    for (i = 0; i < RSSM_U; i++) {
        t->normed[i] = (t->normed[i] - mean) * t->scale;
        t->encoded[i] = t->normed[i] * w[HYB_AT_norm + i] + w[HYB_AT_norm + RSSM_U + i];
        t->in[i] = t->encoded[i] * rssm_sigmoid(t->encoded[i]);
    }
    t->in[RSSM_U] = 1;
}

/* A layer on [x; 1] with SiLU. */
static void rssm_hidden(const double *before, double *act)
{
    int i;
    for (i = 0; i < RSSM_U; i++) act[i] = before[i] * rssm_sigmoid(before[i]);
    act[RSSM_U] = 1;
}

static void rssm_forward(const float *w, rssm_column *t, const uint32_t *random)
{
    const int z = RSSM_U + 1, in = RSSM_U + 1 + HYB_LATENT, both = 2 * RSSM_U + 1;
    int i, g;
    rssm_encode(w, t);
    t->h[RSSM_U] = t->after[RSSM_U] = 1;
    rssm_layer(w + HYB_AT_posterior, both, RSSM_U, z, t->in, t->post);
    rssm_layer(w + HYB_AT_posterior + z, both, RSSM_U, RSSM_U, t->h, t->post);
    rssm_hidden(t->post, t->post_act);
    rssm_layer(w + HYB_AT_posterior2, z, HYB_LATENT, z, t->post_act, t->q_soft);
    rssm_chances(t->q_soft, t->q);
    for (g = 0; g < HYB_LATENT_CHOICES; g++) {
        double below = 0;
        for (i = 0; i < HYB_LATENT_CLASSES - 1; i++)
            if (random[g] / 4294967296.0 < (below += t->q[g * HYB_LATENT_CLASSES + i])) break;
        t->in[z + g * HYB_LATENT_CLASSES + i] = 1;
    }
    rssm_layer(w + HYB_AT_gru_w, in, 3 * RSSM_U, in, t->in, t->gates);
    rssm_layer(w + HYB_AT_gru_u, RSSM_U, 2 * RSSM_U, RSSM_U, t->h, t->gates);
    for (i = 0; i < 2 * RSSM_U; i++) t->gates[i] = rssm_sigmoid(t->gates[i]);
    for (i = 0; i < RSSM_U; i++) t->rh[i] = t->gates[RSSM_U + i] * t->h[i];
    rssm_layer(w + HYB_AT_gru_u + 2 * RSSM_U * RSSM_U, RSSM_U, RSSM_U, RSSM_U, t->rh, t->gates + 2 * RSSM_U);
    for (i = 0; i < RSSM_U; i++) {
        t->gates[2 * RSSM_U + i] = tanh(t->gates[2 * RSSM_U + i]);
        t->after[i] = (1 - t->gates[i]) * t->h[i] + t->gates[i] * t->gates[2 * RSSM_U + i];
    }
    rssm_layer(w + HYB_AT_prior, z, RSSM_U, z, t->h, t->pri);
    rssm_hidden(t->pri, t->pri_act);
    rssm_layer(w + HYB_AT_prior2, z, HYB_LATENT, z, t->pri_act, t->p_soft);
    rssm_chances(t->p_soft, t->p);
    rssm_layer(w + HYB_AT_trunk, in, RSSM_U, z, t->after, t->trunk);
    rssm_layer(w + HYB_AT_trunk + z, in, RSSM_U, HYB_LATENT, t->in + z, t->trunk);
    rssm_hidden(t->trunk, t->trunk_act);
    rssm_layer(w + HYB_AT_head, RSSM_U + 2, HYB_HEADS, RSSM_U + 2, t->trunk_act, t->out);
}

/* -ln of a normal density: of the mean `at`, if it is taught, else of the deviation. */
static double rssm_normal(rssm_column *t, int at, int at_sigma, double mu, double y, bool taught)
{
    const double raw = t->out[at_sigma], s = fmin(fmax(raw, -5), 3), r = ((taught ? t->out[at] : mu) - y) * exp(-s);
    const double d = 1 - r * r;
    if (taught) t->d_out[at] = r * exp(-s);
    if (!taught && !(raw >= 3 && d < 0) && !(raw <= -5 && d > 0)) t->d_out[at_sigma] = d;
    return 0.5 * r * r + s + 0.5 * log(2 * 3.14159265358979323846);
}

/* (c - c*)' G (c - c*): of the outputs o, d their gradients. */
static double rssm_delta(const double *o, const hyb_heads_labels *y, double *d)
{
    static const int at[3][3] = { { 0, 1, 2 }, { 1, 3, 4 }, { 2, 4, 5 } };
    const double m = 1 + 1.5 * tanh(o[0]), s1 = rssm_sigmoid(o[1]), q = fmin(1, 2 * s1), s10 = rssm_sigmoid(o[10]);
    const double t0 = tanh(o[0]), t11 = tanh(o[11]);
    double loss = 0, d1 = 0, d11 = 0;
    int g, i, j;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        const double s = rssm_sigmoid(o[2 + g]);
        double v[3], dc[3] = { 0, 0, 0 };
        v[0] = -0.6 * s10 - y->c[g][0];
        v[1] = 0.35 * m * q * 2 * s - y->c[g][1];
        v[2] = 0.5 * fmax(0, t11) - y->c[g][2];
        for (i = 0; i < 3; i++)
            for (j = 0; j < 3; j++) {
                loss += v[i] * y->gram[g][at[i][j]] * v[j];
                dc[i] += 2 * y->gram[g][at[i][j]] * v[j];
            }
        d[0] += dc[1] * 0.35 * q * 2 * s * 1.5 * (1 - t0 * t0);
        d1 += dc[1] * 0.35 * m * 2 * s * 2 * s1 * (1 - s1);
        d[2 + g] = dc[1] * 0.35 * m * q * 2 * s * (1 - s);
        d[10] += dc[0] * -0.6 * s10 * (1 - s10);
        d11 += dc[2] * 0.5 * (1 - t11 * t11);
    }
    if (!(o[1] >= 0 && d1 < 0)) d[1] = d1;
    if (!(o[11] <= 0 && d11 > 0)) d[11] = d11;
    return loss;
}

static void rssm_trust(hyb_trust *trust, int h, double o, double r, double y)
{
    trust->n[h]++;
    trust->oo[h] += o * o;
    trust->or_[h] += o * r;
    trust->rr[h] += r * r;
    trust->oy[h] += o * y;
    trust->ry[h] += r * y;
}

/* What a column cost, and the gradients of its outputs, of q and of p. */
static void rssm_loss(rssm_column *t, const hyb_heads_labels *y, const hyb_share *share, hyb_trust *trust,
                      hyb_world_loss *taught, hyb_world_loss *held)
{
    const bool is_taught = share->role == HYB_ROLE_TAUGHT;
    const double miss = t->trunk_act[RSSM_U + 1];
    hyb_world_loss *to = is_taught ? taught : held;
    double kl = 0;
    int h, i;
    if (share->role == HYB_ROLE_NONE) return;
    for (h = 0; h < HYB_HORIZONS; h++) {
        if (!(y->has_loss >> h & 1)) continue;
        to->n_nll[h]++;
        to->nll[h] +=
            rssm_normal(t, h, HYB_HEAD_SIGMA + h, trust->a[h] * t->out[h] + trust->b[h] * miss, y->y[h], is_taught);
        if (!is_taught) rssm_trust(trust, h, t->out[h], miss, y->y[h]);
    }
    if (y->has_gain) {
        to->n_gain++;
        to->gain += rssm_normal(t, HYB_HEAD_GAIN, HYB_HEAD_GAIN_SIGMA, t->out[HYB_HEAD_GAIN], y->gain, is_taught);
    }
    if (y->has_delta && is_taught) {
        to->n_delta++;
        to->delta += rssm_delta(t->out + HYB_HEAD_DELTA, y, t->d_out + HYB_HEAD_DELTA);
    }
    if (y->has_ok && is_taught) {
        const double logit = t->out[HYB_HEAD_OK];
        to->n_ok++;
        to->ok += log(1 + exp(y->ok ? -logit : logit));
        t->d_out[HYB_HEAD_OK] = 0.2 * (rssm_sigmoid(logit) - y->ok);
    }
    for (i = 0; i < HYB_HEADS; i++) t->d_out[i] *= share->weight;
    for (i = 0; i < HYB_LATENT; i++) kl += t->q[i] * log(t->q[i] / t->p[i]);
    taught->kl += kl;
    taught->n_ticks++;
    for (i = 0; i < HYB_LATENT && kl > 1; i++) {
        t->d_q[i] = 0.1 * share->kl * log(t->q[i] / t->p[i]);
        t->d_p[i] = -0.5 * share->kl * t->q[i] / t->p[i];
    }
}

/* The cell: dh, of the state after it, becomes that of the state before it; d_gates: of what goes into the gates. */
static void rssm_cell_back(const float *w, double *dw, const rssm_column *t, double *dh, double *d_gates)
{
    const float *u = w + HYB_AT_gru_u;
    double d_rh[RSSM_U] = { 0 }, before[RSSM_U];
    double *du = dw + HYB_AT_gru_u;
    int i;
    for (i = 0; i < RSSM_U; i++) {
        const double z = t->gates[i], c = t->gates[2 * RSSM_U + i];
        d_gates[2 * RSSM_U + i] = dh[i] * z * (1 - c * c);
        d_gates[i] = dh[i] * (c - t->h[i]) * z * (1 - z);
        before[i] = dh[i] * (1 - z);
    }
    rssm_layer_back(u + 2 * RSSM_U * RSSM_U, du + 2 * RSSM_U * RSSM_U, RSSM_U, RSSM_U, RSSM_U, t->rh,
                    d_gates + 2 * RSSM_U, d_rh);
    for (i = 0; i < RSSM_U; i++) {
        const double r = t->gates[RSSM_U + i];
        d_gates[RSSM_U + i] = d_rh[i] * t->h[i] * r * (1 - r);
        before[i] += d_rh[i] * r;
    }
    rssm_layer_back(u, du, RSSM_U, 2 * RSSM_U, RSSM_U, t->h, d_gates, before);
    memcpy(dh, before, sizeof before);
}

static void rssm_encode_back(const float *w, double *dw, const rssm_column *t, const double *de)
{
    double d[RSSM_U], mean = 0, along = 0;
    int i;
    for (i = 0; i < RSSM_U; i++) {
        d[i] = de[i] * rssm_silu_back(t->encoded[i]);
        dw[HYB_AT_norm + i] += d[i] * t->normed[i];
        dw[HYB_AT_norm + RSSM_U + i] += d[i];
        d[i] *= w[HYB_AT_norm + i];
        mean += d[i] / RSSM_U;
        along += d[i] * t->normed[i] / RSSM_U;
    }
    for (i = 0; i < RSSM_U; i++) d[i] = (d[i] - mean - t->normed[i] * along) * t->scale;
    rssm_layer_back(w + HYB_AT_encoder, dw + HYB_AT_encoder, HYB_WORLD_INPUTS + 1, RSSM_U, HYB_WORLD_INPUTS + 1, t->x,
                    d, NULL);
}

/* A hidden layer on h and what is drawn from it, back: d, of the chances. */
static void rssm_latent_back(const float *w2, double *dw2, const double *before, const double *act, const double *soft,
                             const double *d, double *d_before)
{
    double logits[HYB_LATENT], d_act[RSSM_U + 1] = { 0 };
    int i;
    rssm_chances_back(soft, d, logits);
    rssm_layer_back(w2, dw2, RSSM_U + 1, HYB_LATENT, RSSM_U + 1, act, logits, d_act);
    for (i = 0; i < RSSM_U; i++) d_before[i] = d_act[i] * rssm_silu_back(before[i]);
}

/* dh: of the state after the column, and then of that before it. dw (HYB_MEMBER_SIZE) += the gradients. */
static void rssm_back(const float *w, double *dw, const rssm_column *t, double *dh)
{
    const int z = RSSM_U + 1, in = RSSM_U + 1 + HYB_LATENT, both = 2 * RSSM_U + 1;
    double d_act[RSSM_U + 2] = { 0 }, d[RSSM_U], d_after[RSSM_U + 1] = { 0 }, d_in[RSSM_U + 1 + HYB_LATENT] = { 0 };
    double d_gates[3 * RSSM_U], d_before[RSSM_U + 1] = { 0 }, none[RSSM_U + 2];
    int i;
    rssm_layer_back(w + HYB_AT_head, dw + HYB_AT_head, RSSM_U + 2, HYB_HEAD_SIGMA, RSSM_U + 2, t->trunk_act, t->d_out,
                    d_act);
    rssm_layer_back(w + HYB_AT_head, dw + HYB_AT_head + HYB_HEAD_SIGMA * (RSSM_U + 2), RSSM_U + 2,
                    HYB_HEADS - HYB_HEAD_SIGMA, RSSM_U + 2, t->trunk_act, t->d_out + HYB_HEAD_SIGMA,
                    (double *)memset(none, 0, sizeof none)); /* nothing of the deviations goes further */
    for (i = 0; i < RSSM_U; i++) d[i] = d_act[i] * rssm_silu_back(t->trunk[i]);
    rssm_layer_back(w + HYB_AT_trunk, dw + HYB_AT_trunk, in, RSSM_U, z, t->after, d, d_after);
    rssm_layer_back(w + HYB_AT_trunk + z, dw + HYB_AT_trunk + z, in, RSSM_U, HYB_LATENT, t->in + z, d, d_in + z);
    for (i = 0; i < RSSM_U; i++) dh[i] += d_after[i];
    rssm_cell_back(w, dw, t, dh, d_gates);
    rssm_layer_back(w + HYB_AT_gru_w, dw + HYB_AT_gru_w, in, 3 * RSSM_U, in, t->in, d_gates, d_in);
    for (i = 0; i < HYB_LATENT; i++) d_in[z + i] += t->d_q[i];
    rssm_latent_back(w + HYB_AT_posterior2, dw + HYB_AT_posterior2, t->post, t->post_act, t->q_soft, d_in + z, d);
    rssm_layer_back(w + HYB_AT_posterior, dw + HYB_AT_posterior, both, RSSM_U, z, t->in, d, d_in);
    rssm_layer_back(w + HYB_AT_posterior + z, dw + HYB_AT_posterior + z, both, RSSM_U, RSSM_U, t->h, d, d_before);
    rssm_latent_back(w + HYB_AT_prior2, dw + HYB_AT_prior2, t->pri, t->pri_act, t->p_soft, t->d_p, d);
    rssm_layer_back(w + HYB_AT_prior, dw + HYB_AT_prior, z, RSSM_U, z, t->h, d, d_before);
    for (i = 0; i < RSSM_U; i++) dh[i] += d_before[i];
    rssm_encode_back(w, dw, t, d_in);
}

/* One member: all columns forth, with what they cost, and back. */
static void rssm_exact_member(const hyb_op_rssm *op, int m, hyb_trust *trust, hyb_world_loss *losses, double *dw)
{
    const float *w = op->weights + (size_t)m * HYB_MEMBER_ROOM;
    const int n = op->ticks * op->windows;
    rssm_column *t = (rssm_column *)calloc((size_t)n, sizeof *t);
    double dh[HYB_PANEL_WINDOWS][RSSM_U] = { { 0 } };
    int c, i;
    for (c = 0; c < n; c++) {
        for (i = 0; i < HYB_WORLD_INPUTS; i++) t[c].x[i] = op->x[i * HYB_PANEL_ROW + c];
        t[c].x[HYB_WORLD_INPUTS] = 1;
        t[c].trunk_act[RSSM_U + 1] = op->x[HYB_WORLD_INPUTS * HYB_PANEL_ROW + c];
        if (c >= op->windows) memcpy(t[c].h, t[c - op->windows].after, sizeof t[c].h);
        rssm_forward(w, &t[c], op->random[m * HYB_PANEL_ROW + c]);
        rssm_loss(&t[c], &op->labels[c], &op->shares[m * HYB_PANEL_ROW + c], trust, &losses[0], &losses[1]);
    }
    for (c = n - 1; c >= 0; c--) rssm_back(w, dw, &t[c], dh[c % op->windows]);
    free(t);
}

static void exact_rssm(side *s, const hyb_op_rssm *op)
{
    double *dw = (double *)malloc(HYB_MEMBER_ROOM * sizeof *dw);
    int m;
    for (m = 0; m < op->n_members; m++) {
        hyb_trust trust = op->trusts[m];
        hyb_world_loss losses[2];
        size_t i;
        memset(losses, 0, sizeof losses);
        for (i = 0; i < HYB_MEMBER_ROOM; i++) dw[i] = 0;
        rssm_exact_member(op, m, &trust, losses, dw);
        for (i = 0; i < HYB_MEMBER_ROOM; i++) want(s, op->gradients + (size_t)m * HYB_MEMBER_ROOM + i, dw[i]);
        for (i = 0; i < sizeof trust / sizeof(double); i++)
            want_double(s, (const double *)&op->trusts[m] + i, ((const double *)&trust)[i]);
        for (i = 0; i < sizeof losses[0] / sizeof(double); i++) {
            want_double(s, (const double *)&op->taught[m] + i, ((const double *)&losses[0])[i]);
            want_double(s, (const double *)&op->held[m] + i, ((const double *)&losses[1])[i]);
        }
    }
    free(dw);
}
#endif
