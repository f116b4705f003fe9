/* rssm: a step of learning of the predictor's world models: each runs over windows of ticks, and its gradients go back
 * through time. A block of 256 threads is a member, and a launch does all members. Needs prelude. compute/cpu/rssm/ has
 * the same steps, and says what they mean.
 *
 * A panel has a row of ROW floats for each feature; column t * windows + i is tick t of window i. Panels lie in global
 * memory: 3.6 MB a member, which stay in the second cache.
 *
 * Nearly all of the work is in products, of which there are 37, some of them once for each tick. They are rows of a
 * table, and one piece of code goes through it: a product that is written out 37 times takes NVRTC half a minute, and a
 * function that is called has registers to save. */

enum {
    ROW = 272,
    INPUTS = 70,
    UNITS = 128,
    CHOICES = 4,
    CLASSES = 8,
    LATENT = CHOICES * CLASSES,
    HORIZONS = 4,
    GROUPS = 8,
    DELTA = HORIZONS, /* outputs of the heads */
    GAIN = 16,
    VERDICT = 17,
    SIGMA = 18,
    GAIN_SIGMA = 22,
    HEADS = 23,
    /* columns of matrices: x, a layer on units, on [units; 1; z], on [e; 1; h], of the heads */
    OF_X = INPUTS + 1,
    OF_UNITS = UNITS + 1,
    OF_Z = UNITS + 1 + LATENT,
    OF_BOTH = 2 * UNITS + 1,
    OF_TRUNK = UNITS + 2
};
enum { NOTHING, TAUGHT, HELD };

/* Where the weights of a member begin. */
enum {
    AT_ENCODER = 0,
    AT_NORM = AT_ENCODER + UNITS * OF_X,
    AT_GRU_W = AT_NORM + 2 * UNITS,
    AT_GRU_U = AT_GRU_W + 3 * UNITS * OF_Z,
    AT_POSTERIOR = AT_GRU_U + 3 * UNITS * UNITS,
    AT_POSTERIOR2 = AT_POSTERIOR + UNITS * OF_BOTH,
    AT_PRIOR = AT_POSTERIOR2 + LATENT * OF_UNITS,
    AT_PRIOR2 = AT_PRIOR + UNITS * OF_UNITS,
    AT_TRUNK = AT_PRIOR2 + LATENT * OF_UNITS,
    AT_HEAD = AT_TRUNK + UNITS * OF_Z,
    SIZE = AT_HEAD + HEADS * OF_TRUNK,
    ROOM = (SIZE + 15) / 16 * 16
};

/* And its panels: rows. Of those with a row of ones, it comes after the units; of trunk_act, the miss after that. */
enum {
    X = 0,
    NORMED = X + OF_X,
    DEVIATION = NORMED + UNITS,
    ENCODED = DEVIATION + 1,
    IN = ENCODED + UNITS, /* [e; 1; z] */
    GATES = IN + OF_Z,
    RH = GATES + 3 * UNITS,
    H = RH + UNITS, /* from before tick 0 to after the last */
    POST = H + OF_UNITS,
    POST_ACT = POST + UNITS,
    Q_SOFT = POST_ACT + OF_UNITS,
    Q = Q_SOFT + LATENT,
    PRI = Q + LATENT,
    PRI_ACT = PRI + UNITS,
    P_SOFT = PRI_ACT + OF_UNITS,
    P = P_SOFT + LATENT,
    TRUNK = P + LATENT,
    TRUNK_ACT = TRUNK + UNITS,
    OUT = TRUNK_ACT + OF_TRUNK,
    D_OUT = OUT + HEADS,
    D_TRUNK = D_OUT + HEADS,
    D_H = D_TRUNK + UNITS,
    D_GATES = D_H + UNITS,
    D_RH = D_GATES + 3 * UNITS,
    D_IN = D_RH + UNITS,
    D_Q = D_IN + OF_Z,
    D_POST = D_Q + LATENT,
    D_P = D_POST + UNITS,
    D_PRI = D_P + LATENT,
    PANELS = D_PRI + UNITS,
    ONES = UNITS,     /* after the beginning of a panel: its row of ones */
    Z = UNITS + 1,    /* and of IN and D_IN: z */
    MISS = UNITS + 1, /* and of TRUNK_ACT: the miss */
    NEW = 2 * UNITS   /* and of GATES and D_GATES: the third gate */
};

/* As in compute/ops/rssm.c. */
struct tick_labels {
    u32 has_loss;
    bool has_delta, has_gain, has_ok;
    float y[HORIZONS], c[GROUPS][3], gram[GROUPS][6], gain;
    bool ok;
};
struct tick_share {
    int role;
    float weight, kl;
};
struct member_trust {
    double n[HORIZONS], oo[HORIZONS], or_[HORIZONS], rr[HORIZONS], oy[HORIZONS], ry[HORIZONS], a[HORIZONS], b[HORIZONS];
};
struct member_loss {
    double nll[HORIZONS], delta, gain, ok, kl, n_nll[HORIZONS], n_delta, n_gain, n_ok, n_ticks;
};
struct rssm_args {
    int ticks, windows;
    const float *weights, *x;
    const u32 *random;
    const tick_labels *labels;
    const tick_share *shares;
    member_trust *trusts;
    member_loss *taught, *held;
    float *gradients, *work;
};

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* Two pieces of operands, so many terms of a sum: of 64 rows, and of up to 64 columns. */
enum { TERMS = 16, TILE = 64, PADDED = TILE + 4 };
struct pieces {
    float a[TERMS][PADDED], b[TERMS][PADDED];
};

/* A matrix: floats from one row to the next, and from one column; one of the two is 1. */
struct view {
    const float *at;
    int row, column;
};

/* c (m, n) = or += a (m, p) b (p, n), the rows of c `row` floats apart; N columns at a time. A thread has 4 rows of N /
 * 16 columns, and adds its terms in their order. It begins and goes on with barriers, so that what was written before
 * it is there; what it writes is there after the next one. */
template <int N>
DEVICE void product(pieces *s, const view &a, const view &b, float *c, int row, int m, int n, int p, bool add)
{
    const int of_row = 4 * ((int)threadIdx.x / 16), of_column = N / 16 * ((int)threadIdx.x % 16);
    for (int m0 = 0; m0 < m; m0 += TILE)
        for (int n0 = 0; n0 < n; n0 += N) {
            float sum[4][N / 16];
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < N / 16; j++) sum[i][j] = 0;
            for (int p0 = 0; p0 < p; p0 += TERMS) {
                block_sync(); /* nobody reads the last pieces any more */
                for (int i = threadIdx.x; i < TERMS * TILE; i += 256) {
                    const int r = a.column == 1 ? i / TERMS : i % TILE, t = a.column == 1 ? i % TERMS : i / TILE;
                    const bool there = m0 + r < m && p0 + t < p;
                    s->a[t][r] = there ? a.at[(m0 + r) * a.row + (p0 + t) * a.column] : 0.0f;
                }
                for (int i = threadIdx.x; i < TERMS * N; i += 256) {
                    const int r = b.column == 1 ? i % N : i / TERMS, t = b.column == 1 ? i / N : i % TERMS;
                    const bool there = n0 + r < n && p0 + t < p;
                    s->b[t][r] = there ? b.at[(p0 + t) * b.row + (n0 + r) * b.column] : 0.0f;
                }
                block_sync(); /* these are there */
                for (int t = 0; t < TERMS; t++) {
                    const float4 x = *(const float4 *)&s->a[t][of_row];
                    for (int j = 0; j < N / 16; j++) {
                        const float y = s->b[t][of_column + j];
                        sum[0][j] = fmaf(x.x, y, sum[0][j]);
                        sum[1][j] = fmaf(x.y, y, sum[1][j]);
                        sum[2][j] = fmaf(x.z, y, sum[2][j]);
                        sum[3][j] = fmaf(x.w, y, sum[3][j]);
                    }
                }
            }
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < N / 16; j++) {
                    float *to = c + (m0 + of_row + i) * row + n0 + of_column + j;
                    if (m0 + of_row + i < m && n0 + of_column + j < n) *to = add ? *to + sum[i][j] : sum[i][j];
                }
        }
}

/* ---- all products, in their order -------------------------------------------------------------------------------- */

enum product_kind {
    FORWARD, /* y = W x */
    BACK_X,  /* y = W' x */
    BACK_W   /* W's gradient = x y', each once */
};
enum { ADDS = 1, X_AFTER = 2, Y_AFTER = 4 }; /* y += ; from the column of the next tick on: the state after a tick */

/* What follows a product. */
enum follows {
    NO_MORE,
    ENCODE,
    LATENT_OF,
    RESET,
    CELL,
    PRIORS,
    LOSSES,
    POSTERIOR_ACT,
    PRIOR_ACT,
    TRUNK_SILU,
    TRUNK_BACK,
    PRIOR_BACK,
    CELL_BACK,
    RESET_BACK,
    LATENT_BACK,
    POSTERIOR_BACK,
    ENCODE_BACK
};

/* W is (rows, columns), `of` floats from row to row; x and y are panels. */
struct step {
    int kind, weights, of, rows, columns, x, y, flags, then;
};
__constant__ step STEPS[] = {
    { FORWARD, AT_ENCODER, OF_X, UNITS, OF_X, X, NORMED, 0, ENCODE },
    { FORWARD, AT_GRU_W, OF_Z, 3 * UNITS, OF_UNITS, IN, GATES, 0, NO_MORE },
    { FORWARD, AT_POSTERIOR, OF_BOTH, UNITS, OF_UNITS, IN, POST, 0, NO_MORE },
    /* a tick */
    { FORWARD, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, H, POST, ADDS, POSTERIOR_ACT },
    { FORWARD, AT_POSTERIOR2, OF_UNITS, LATENT, OF_UNITS, POST_ACT, Q_SOFT, 0, LATENT_OF },
    { FORWARD, AT_GRU_W + OF_UNITS, OF_Z, 3 * UNITS, LATENT, IN + Z, GATES, ADDS, NO_MORE },
    { FORWARD, AT_GRU_U, UNITS, 2 * UNITS, UNITS, H, GATES, ADDS, RESET },
    { FORWARD, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, RH, GATES + NEW, ADDS, CELL },
    /* priors and heads of all ticks, from their states */
    { FORWARD, AT_PRIOR, OF_UNITS, UNITS, OF_UNITS, H, PRI, 0, PRIOR_ACT },
    { FORWARD, AT_PRIOR2, OF_UNITS, LATENT, OF_UNITS, PRI_ACT, P_SOFT, 0, PRIORS },
    { FORWARD, AT_TRUNK, OF_Z, UNITS, OF_UNITS, H, TRUNK, X_AFTER, NO_MORE },
    { FORWARD, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, IN + Z, TRUNK, ADDS, TRUNK_SILU },
    { FORWARD, AT_HEAD, OF_TRUNK, HEADS, OF_TRUNK, TRUNK_ACT, OUT, 0, LOSSES },
    /* back: heads and trunk, but not of the deviations; into D_H of the states after each tick, and z of D_IN */
    { BACK_W, AT_HEAD, OF_TRUNK, HEADS, OF_TRUNK, D_OUT, TRUNK_ACT, 0, NO_MORE },
    { BACK_X, AT_HEAD, OF_TRUNK, SIGMA, UNITS, D_OUT, D_TRUNK, 0, TRUNK_BACK },
    { BACK_W, AT_TRUNK, OF_Z, UNITS, OF_UNITS, D_TRUNK, H, Y_AFTER, NO_MORE },
    { BACK_W, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, D_TRUNK, IN + Z, 0, NO_MORE },
    { BACK_X, AT_TRUNK, OF_Z, UNITS, UNITS, D_TRUNK, D_H, Y_AFTER, NO_MORE },
    { BACK_X, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, D_TRUNK, D_IN + Z, 0, NO_MORE },
    /* priors: into D_H of the states before each tick */
    { BACK_W, AT_PRIOR2, OF_UNITS, LATENT, OF_UNITS, D_P, PRI_ACT, 0, NO_MORE },
    { BACK_X, AT_PRIOR2, OF_UNITS, LATENT, UNITS, D_P, D_PRI, 0, PRIOR_BACK },
    { BACK_W, AT_PRIOR, OF_UNITS, UNITS, OF_UNITS, D_PRI, H, 0, NO_MORE },
    { BACK_X, AT_PRIOR, OF_UNITS, UNITS, UNITS, D_PRI, D_H, ADDS, CELL_BACK },
    /* a tick, the gradient of whose state is complete: through the cell, z and the posterior, into the state before */
    { BACK_X, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, D_GATES + NEW, D_RH, 0, RESET_BACK },
    { BACK_X, AT_GRU_U, UNITS, 2 * UNITS, UNITS, D_GATES, D_H, ADDS, NO_MORE },
    { BACK_X, AT_GRU_W + OF_UNITS, OF_Z, 3 * UNITS, LATENT, D_GATES, D_IN + Z, ADDS, LATENT_BACK },
    { BACK_X, AT_POSTERIOR2, OF_UNITS, LATENT, UNITS, D_Q, D_POST, 0, POSTERIOR_BACK },
    { BACK_X, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, D_POST, D_H, ADDS, CELL_BACK },
    /* what the ticks left: the weights of gates and posterior, and the encoder */
    { BACK_W, AT_GRU_W, OF_Z, 3 * UNITS, OF_Z, D_GATES, IN, 0, NO_MORE },
    { BACK_W, AT_GRU_U, UNITS, 2 * UNITS, UNITS, D_GATES, H, 0, NO_MORE },
    { BACK_W, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, D_GATES + NEW, RH, 0, NO_MORE },
    { BACK_W, AT_POSTERIOR2, OF_UNITS, LATENT, OF_UNITS, D_Q, POST_ACT, 0, NO_MORE },
    { BACK_W, AT_POSTERIOR, OF_BOTH, UNITS, OF_UNITS, D_POST, IN, 0, NO_MORE },
    { BACK_W, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, D_POST, H, 0, NO_MORE },
    { BACK_X, AT_GRU_W, OF_Z, 3 * UNITS, UNITS, D_GATES, D_IN, 0, NO_MORE },
    { BACK_X, AT_POSTERIOR, OF_BOTH, UNITS, UNITS, D_POST, D_IN, ADDS, ENCODE_BACK },
    { BACK_W, AT_ENCODER, OF_X, UNITS, OF_X, D_IN, X, 0, NO_MORE },
};
enum { STEP_COUNT = sizeof STEPS / sizeof *STEPS, TICK = 3, TICK_END = 8, TICK_BACK = 23, TICK_BACK_END = 28 };

/* ---- a member ---------------------------------------------------------------------------------------------------- */

struct member {
    pieces *s;
    const float *w, *miss;
    const u32 *random;
    const tick_labels *labels;
    const tick_share *shares;
    member_trust *trust;
    member_loss *taught, *held;
    float *d, *work;
    int windows, n; /* n: columns */
};

DEVICE float *panel(const member &m, int row) { return m.work + row * ROW; }

/* A step over columns at .. at + n. */
DEVICE void multiply(const member &m, const step &s, int at, int n)
{
    const bool back_w = s.kind == BACK_W, back_x = s.kind == BACK_X;
    const float *x = panel(m, s.x) + at + (s.flags & X_AFTER ? m.windows : 0);
    float *y = panel(m, s.y) + at + (s.flags & Y_AFTER ? m.windows : 0), *to = back_w ? m.d + s.weights : y;
    const float *w = m.w + s.weights;
    const int rows = back_x ? s.columns : s.rows, columns = back_w ? s.columns : n;
    const int terms = back_w ? n : back_x ? s.rows : s.columns, row = back_w ? s.of : ROW;
    view a = { w, s.of, 1 }, b = { x, ROW, 1 };
    if (back_x) a = { w, 1, s.of };
    if (back_w) {
        a = { x, ROW, 1 };
        b = { y, 1, ROW };
    }
    if (columns <= 32)
        product<16>(m.s, a, b, to, row, rows, columns, terms, s.flags & ADDS);
    else
        product<TILE>(m.s, a, b, to, row, rows, columns, terms, s.flags & ADDS);
}

/* f(place) for each of so many rows, columns at .. at + n. What was written before it is there. */
template <class F> DEVICE void each(int rows, int at, int n, const F &f)
{
    block_sync(); /* what came before has been written, and read */
    for (int i = threadIdx.x; i < rows * n; i += 256) f(i / n * ROW + at + i % n);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
DEVICE float silu(float x) { return x * sigmoid(x); }
DEVICE float silu_back(float x)
{
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
DEVICE void act(const member &m, int x, int y, int at, int n)
{
    each(UNITS, at, n, [&](int i) { panel(m, y)[i] = silu(panel(m, x)[i]); });
}
DEVICE void act_back(const member &m, int x, int d, int at, int n)
{
    each(UNITS, at, n, [&](int i) { panel(m, d)[i] *= silu_back(panel(m, x)[i]); });
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

/* A choice's softmax over its logits, and mixed: p. */
DEVICE void chances(float *soft, float *p)
{
    float most = soft[0], sum = 0;
    for (int i = 1; i < CLASSES; i++) most = fmaxf(most, soft[i * ROW]);
    for (int i = 0; i < CLASSES; i++) {
        soft[i * ROW] = expf(soft[i * ROW] - most);
        sum += soft[i * ROW];
    }
    for (int i = 0; i < CLASSES; i++) {
        soft[i * ROW] = soft[i * ROW] / sum;
        p[i * ROW] = 0.99f * soft[i * ROW] + 0.01f / CLASSES;
    }
}
DEVICE void sample(const float *p, u32 random, float *z)
{
    const double u = random / 4294967296.0;
    double below = 0;
    int chosen = CLASSES - 1;
    for (int i = 0; i < chosen; i++)
        if (u < (below += (double)p[i * ROW])) chosen = i;
    for (int i = 0; i < CLASSES; i++) z[i * ROW] = i == chosen ? 1.0f : 0.0f;
}
/* The gradient of p becomes that of the logits. */
DEVICE void chances_back(const float *soft, float *d)
{
    float mean = 0;
    for (int i = 0; i < CLASSES; i++) mean += soft[i * ROW] * d[i * ROW];
    for (int i = 0; i < CLASSES; i++) d[i * ROW] = 0.99f * (soft[i * ROW] * (d[i * ROW] - mean));
}

/* Inputs, rows of ones, and states of zeros. */
DEVICE void begin(const member &m, const float *x)
{
    const int ones[] = { X + INPUTS, IN + ONES, H + ONES, POST_ACT + ONES, PRI_ACT + ONES, TRUNK_ACT + ONES };
    each(INPUTS, 0, m.n, [&](int i) { m.work[i] = x[i]; });
    each(UNITS, 0, m.windows, [&](int i) { panel(m, H)[i] = 0; });
    for (int i = 0; i < 6; i++) each(1, 0, m.n + m.windows, [&](int c) { panel(m, ones[i])[c] = 1; });
    each(1, 0, m.n, [&](int c) { panel(m, TRUNK_ACT + MISS)[c] = m.miss[c]; });
}

/* Each column has mean 0 and variance 1; a thread has a column. */
DEVICE void norm(const member &m)
{
    float *x = panel(m, NORMED), *encoded = panel(m, ENCODED);
    const float *w = m.w + AT_NORM;
    each(1, 0, m.n, [&](int c) {
        float mean = 0, square = 0;
#pragma unroll 1
        for (int i = 0; i < UNITS; i++) mean += x[i * ROW + c];
        mean *= 1.0f / UNITS;
#pragma unroll 1
        for (int i = 0; i < UNITS; i++) square = fmaf(x[i * ROW + c] - mean, x[i * ROW + c] - mean, square);
        const float scale = 1.0f / sqrtf(square * (1.0f / UNITS) + 1e-5f);
        panel(m, DEVIATION)[c] = scale;
#pragma unroll 1
        for (int i = 0; i < UNITS; i++) {
            const float v = (x[i * ROW + c] - mean) * scale;
            x[i * ROW + c] = v;
            encoded[i * ROW + c] = fmaf(v, w[i], w[UNITS + i]);
        }
    });
}

/* Of a tick at column `at`: q and z, of the logits. */
DEVICE void latent(const member &m, int at)
{
    each(CHOICES, at, m.windows, [&](int i) {
        const int choice = i / ROW, c = i % ROW, row = choice * CLASSES;
        chances(panel(m, Q_SOFT + row) + c, panel(m, Q + row) + c);
        sample(panel(m, Q + row) + c, m.random[c * CHOICES + choice], panel(m, IN + Z + row) + c);
    });
}
DEVICE void priors(const member &m)
{
    each(CHOICES, 0, m.n, [&](int i) {
        const int row = i / ROW * CLASSES, c = i % ROW;
        chances(panel(m, P_SOFT + row) + c, panel(m, P + row) + c);
    });
}

/* z and r of the tick, and r h. */
DEVICE void reset(const member &m, int at)
{
    float *gates = panel(m, GATES);
    each(2 * UNITS, at, m.windows, [&](int i) { gates[i] = sigmoid(gates[i]); });
    each(UNITS, at, m.windows, [&](int i) { panel(m, RH)[i] = gates[UNITS * ROW + i] * panel(m, H)[i]; });
}
/* h of the next tick. */
DEVICE void cell(const member &m, int at)
{
    float *gates = panel(m, GATES), *h = panel(m, H);
    each(UNITS, at, m.windows, [&](int i) {
        const float new_h = tanhf(gates[NEW * ROW + i]), z = gates[i];
        gates[NEW * ROW + i] = new_h;
        h[i + m.windows] = (1.0f - z) * h[i] + z * new_h;
    });
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

/* What a tick costs, in the memory of D_GATES, which is free until gradients go back: (COSTS, ROW) doubles. */
enum { COST_DELTA = HORIZONS, COST_GAIN, COST_OK, COST_KL, COSTS };

/* A bound lets a gradient through if a step against it leads back from the bound. */
DEVICE float bound_back(float x, float low, float high, float d)
{
    return (x >= high && d < 0.0f) || (x <= low && d > 0.0f) ? 0.0f : d;
}

/* -ln of the density of a normal distribution at y, and its gradients. */
DEVICE double normal_loss(float mu, float log_sigma, float y, float *d_mu, float *d_log_sigma)
{
    const float s = fminf(fmaxf(log_sigma, -5.0f), 3.0f), e = expf(-s), r = (mu - y) * e;
    *d_mu = r * e;
    *d_log_sigma = bound_back(log_sigma, -5.0f, 3.0f, 1.0f - r * r);
    return 0.5 * (double)r * (double)r + (double)s + 0.91893853320467274;
}

/* Of outputs `at` and `at_sigma`; d: their column. The one that the role does not teach stays 0. */
DEVICE double normal_head(const float *o, float *d, int at, int at_sigma, float mu, float y, const tick_share &share)
{
    const bool taught = share.role == TAUGHT;
    float d_mu, d_sigma;
    const double loss = normal_loss(taught ? o[at * ROW] : mu, o[at_sigma * ROW], y, &d_mu, &d_sigma);
    if (taught) d[at * ROW] = d_mu * share.weight;
    if (share.role == HELD) d[at_sigma * ROW] = d_sigma * share.weight;
    return loss;
}

/* (c - c*)' G (c - c*) over the groups, of the outputs o0 .. o11. */
DEVICE double delta_head(const float *o, const tick_labels &y, float *d, float weight)
{
    const float t0 = tanhf(o[0]), s1 = sigmoid(o[1 * ROW]), q = fminf(2.0f * s1, 1.0f), s10 = sigmoid(o[10 * ROW]);
    const float t11 = tanhf(o[11 * ROW]), magnitude = 1.0f + 1.5f * t0;
    float d_magnitude = 0, d_q = 0, d_d = 0, d_r = 0;
    double loss = 0;
#pragma unroll 1
    for (int g = 0; g < GROUPS; g++) {
        const float s = sigmoid(o[(2 + g) * ROW]), *gram = y.gram[g];
        const float v0 = -0.6f * s10 - y.c[g][0], v1 = 0.35f * magnitude * q * (2.0f * s) - y.c[g][1];
        const float v2 = 0.5f * fmaxf(t11, 0.0f) - y.c[g][2];
        const float c0 = 2.0f * (gram[0] * v0 + gram[1] * v1 + gram[2] * v2);
        const float c1 = 2.0f * (gram[1] * v0 + gram[3] * v1 + gram[4] * v2);
        const float c2 = 2.0f * (gram[2] * v0 + gram[4] * v1 + gram[5] * v2), b = 0.35f * c1;
        loss += 0.5 * ((double)c0 * (double)v0 + (double)c1 * (double)v1 + (double)c2 * (double)v2);
        d[(2 + g) * ROW] = b * magnitude * q * (2.0f * s * (1.0f - s)) * weight;
        d_magnitude += b * q * (2.0f * s);
        d_q += b * magnitude * (2.0f * s);
        d_d += c0;
        d_r += c2;
    }
    d[0] = d_magnitude * 1.5f * (1.0f - t0 * t0) * weight;
    d[1 * ROW] = o[1 * ROW] >= 0.0f && d_q < 0.0f ? 0.0f : d_q * (2.0f * s1 * (1.0f - s1)) * weight;
    d[10 * ROW] = d_d * -0.6f * s10 * (1.0f - s10) * weight;
    d_r *= 0.5f * (1.0f - t11 * t11) * weight;
    d[11 * ROW] = o[11 * ROW] <= 0.0f && d_r > 0.0f ? 0.0f : d_r;
    return loss;
}

/* Both gradients of the balanced KL, and what it is. */
DEVICE double kl_of(const float *q, const float *p, float *d_q, float *d_p, float weight)
{
    double sum = 0;
#pragma unroll 1
    for (int i = 0; i < LATENT; i++)
        sum += (double)q[i * ROW] * (double)(float)(log((double)q[i * ROW]) - log((double)p[i * ROW]));
    if (!(sum > 1.0)) return sum;
#pragma unroll 1
    for (int i = 0; i < LATENT; i++) {
        d_q[i * ROW] = 0.1f * weight * (float)(log((double)q[i * ROW]) - log((double)p[i * ROW]));
        d_p[i * ROW] = -0.5f * weight * (q[i * ROW] / p[i * ROW]);
    }
    return sum;
}

/* Gradients of the outputs and of both latents, and what each label costs; a thread has a column. */
DEVICE void costs_of(const member &m, double *costs)
{
    const member_trust &trust = *m.trust;
    const float *out = panel(m, OUT);
    each(LATENT, 0, m.n, [&](int i) { panel(m, D_Q)[i] = panel(m, D_P)[i] = 0; });
    each(HEADS, 0, m.n, [&](int i) { panel(m, D_OUT)[i] = 0; });
    each(1, 0, m.n, [&](int c) {
        const tick_labels &y = m.labels[c];
        const tick_share share = m.shares[c];
        const float *o = out + c, miss = m.miss[c];
        float *d = panel(m, D_OUT) + c;
        if (share.role == NOTHING) return;
#pragma unroll 1
        for (int h = 0; h < HORIZONS; h++) {
            const float mu = (float)(trust.a[h] * (double)o[h * ROW] + trust.b[h] * (double)miss);
            if (y.has_loss >> h & 1) costs[h * ROW + c] = normal_head(o, d, h, SIGMA + h, mu, y.y[h], share);
        }
        if (y.has_gain) costs[COST_GAIN * ROW + c] = normal_head(o, d, GAIN, GAIN_SIGMA, o[GAIN * ROW], y.gain, share);
        if (y.has_delta && share.role == TAUGHT)
            costs[COST_DELTA * ROW + c] = delta_head(o + DELTA * ROW, y, d + DELTA * ROW, share.weight);
        if (y.has_ok && share.role == TAUGHT) {
            const float logit = o[VERDICT * ROW], wrong = y.ok ? -logit : logit;
            d[VERDICT * ROW] = 0.2f * (sigmoid(logit) - (y.ok ? 1.0f : 0.0f)) * share.weight;
            costs[COST_OK * ROW + c] = (double)fmaxf(wrong, 0.0f) + log(1.0 + exp(-fabs((double)logit)));
        }
        costs[COST_KL * ROW + c] =
            kl_of(panel(m, Q) + c, panel(m, P) + c, panel(m, D_Q) + c, panel(m, D_P) + c, share.kl);
    });
}

/* What a horizon cost, and what its ticks that are held back have shown. A thread goes through all columns in their
 * order. */
DEVICE void add_horizon(const member &m, int h, const double *costs)
{
    for (int c = 0; c < m.n; c++) {
        const int role = m.shares[c].role;
        if (role == NOTHING || !(m.labels[c].has_loss >> h & 1)) continue;
        member_loss *to = role == TAUGHT ? m.taught : m.held;
        to->nll[h] += costs[h * ROW + c];
        to->n_nll[h]++;
        if (role == TAUGHT) continue;
        const double o = (double)panel(m, OUT + h)[c], r = (double)m.miss[c], y = (double)m.labels[c].y[h];
        m.trust->n[h]++;
        m.trust->oo[h] += o * o;
        m.trust->or_[h] += o * r;
        m.trust->rr[h] += r * r;
        m.trust->oy[h] += o * y;
        m.trust->ry[h] += r * y;
    }
}
DEVICE void add_rest(const member &m, const double *costs)
{
    for (int c = 0; c < m.n; c++) {
        const tick_labels &y = m.labels[c];
        const bool is_taught = m.shares[c].role == TAUGHT;
        member_loss *to = is_taught ? m.taught : m.held;
        if (m.shares[c].role == NOTHING) continue;
        m.taught->kl += costs[COST_KL * ROW + c];
        m.taught->n_ticks++;
        if (y.has_gain) {
            to->gain += costs[COST_GAIN * ROW + c];
            to->n_gain++;
        }
        if (y.has_delta && is_taught) {
            m.taught->delta += costs[COST_DELTA * ROW + c];
            m.taught->n_delta++;
        }
        if (y.has_ok && is_taught) {
            m.taught->ok += costs[COST_OK * ROW + c];
            m.taught->n_ok++;
        }
    }
}

/* Of all ticks, and their gradients. */
DEVICE void losses(const member &m)
{
    double *costs = (double *)panel(m, D_GATES);
    costs_of(m, costs);
    block_sync(); /* they are there */
    if (threadIdx.x < HORIZONS) add_horizon(m, threadIdx.x, costs);
    if (threadIdx.x == 32) add_rest(m, costs);
    each(UNITS, 0, m.windows, [&](int i) { panel(m, D_H)[i] = 0; });
    each(CHOICES, 0, m.n, [&](int i) {
        const int row = i / ROW * CLASSES, c = i % ROW;
        chances_back(panel(m, P_SOFT + row) + c, panel(m, D_P + row) + c);
    });
}

/* ---- back -------------------------------------------------------------------------------------------------------- */

/* Of a tick, the gradient of whose state is complete. */
DEVICE void cell_back(const member &m, int at)
{
    const float *gates = panel(m, GATES), *h = panel(m, H);
    float *d_gates = panel(m, D_GATES), *d_h = panel(m, D_H);
    each(UNITS, at, m.windows, [&](int i) {
        const float z = gates[i], new_h = gates[NEW * ROW + i], d = d_h[i + m.windows];
        d_gates[NEW * ROW + i] = d * z * (1.0f - new_h * new_h);
        d_gates[i] = d * (new_h - h[i]) * (z * (1.0f - z));
        d_h[i] = fmaf(d, 1.0f - z, d_h[i]);
    });
}
DEVICE void reset_back(const member &m, int at)
{
    float *d_h = panel(m, D_H);
    each(UNITS, at, m.windows, [&](int i) {
        const float r = panel(m, GATES + UNITS)[i], d = panel(m, D_RH)[i];
        panel(m, D_GATES + UNITS)[i] = d * panel(m, H)[i] * (r * (1.0f - r));
        d_h[i] = fmaf(d, r, d_h[i]);
    });
}
/* Straight through what was drawn. */
DEVICE void latent_back(const member &m, int at)
{
    each(CHOICES, at, m.windows, [&](int i) {
        const int row = i / ROW * CLASSES, c = i % ROW;
        float *d = panel(m, D_Q + row) + c;
        for (int k = 0; k < CLASSES; k++) d[k * ROW] += panel(m, D_IN + Z + row + k)[c];
        chances_back(panel(m, Q_SOFT + row) + c, d);
    });
}

/* Of encoded (D_IN), and then of encoder x; of the norm's own weights: a thread has one of each. */
DEVICE void norm_back(const member &m)
{
    const float *x = panel(m, NORMED), *w = m.w + AT_NORM;
    float *d = panel(m, D_IN);
    block_sync(); /* d is there */
    if (threadIdx.x < UNITS) {
        float by_factor = 0, by_term = 0;
        for (int c = 0; c < m.n; c++) {
            by_factor = fmaf(d[threadIdx.x * ROW + c], x[threadIdx.x * ROW + c], by_factor);
            by_term += d[threadIdx.x * ROW + c];
        }
        m.d[AT_NORM + threadIdx.x] = by_factor;
        m.d[AT_NORM + UNITS + threadIdx.x] = by_term;
    }
    each(1, 0, m.n, [&](int c) {
        const float scale = panel(m, DEVIATION)[c];
        float mean = 0, along = 0;
#pragma unroll 1
        for (int i = 0; i < UNITS; i++) {
            mean = fmaf(d[i * ROW + c], w[i], mean);
            along = fmaf(d[i * ROW + c] * w[i], x[i * ROW + c], along);
        }
        mean *= 1.0f / UNITS;
        along *= 1.0f / UNITS;
#pragma unroll 1
        for (int i = 0; i < UNITS; i++)
            d[i * ROW + c] = (d[i * ROW + c] * w[i] - mean - x[i * ROW + c] * along) * scale;
    });
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* The gradient of the tick before begins where that of a tick ends. */
DEVICE void follow(const member &m, int then, int at)
{
    switch (then) {
    case ENCODE:
        norm(m);
        act(m, ENCODED, IN, 0, m.n);
        break;
    case POSTERIOR_ACT: act(m, POST, POST_ACT, at, m.windows); break;
    case LATENT_OF: latent(m, at); break;
    case RESET: reset(m, at); break;
    case CELL: cell(m, at); break;
    case PRIOR_ACT: act(m, PRI, PRI_ACT, 0, m.n); break;
    case PRIORS: priors(m); break;
    case TRUNK_SILU: act(m, TRUNK, TRUNK_ACT, 0, m.n); break;
    case LOSSES: losses(m); break;
    case TRUNK_BACK: act_back(m, TRUNK, D_TRUNK, 0, m.n); break;
    case PRIOR_BACK: act_back(m, PRI, D_PRI, 0, m.n); break;
    case CELL_BACK:
        if (at > 0) cell_back(m, at - m.windows);
        break;
    case RESET_BACK: reset_back(m, at); break;
    case LATENT_BACK: latent_back(m, at); break;
    case POSTERIOR_BACK: act_back(m, POST, D_POST, at, m.windows); break;
    case ENCODE_BACK:
        act_back(m, ENCODED, D_IN, 0, m.n);
        norm_back(m);
        break;
    default: break;
    }
}

/* grid n_members, block 256. work (n_members, PANELS, ROW) may hold anything. */
KERNEL __launch_bounds__(256) rssm(const rssm_args a)
{
    __shared__ __align__(16) pieces shared;
    const i64 k = blockIdx.x;
    int at = 0;
    member m;
    m.s = &shared;
    m.w = a.weights + k * ROOM;
    m.miss = a.x + INPUTS * ROW;
    m.random = a.random + k * ROW * CHOICES;
    m.labels = a.labels;
    m.shares = a.shares + k * ROW;
    m.trust = a.trusts + k;
    m.taught = a.taught + k;
    m.held = a.held + k;
    m.d = a.gradients + k * ROOM;
    m.work = a.work + k * PANELS * ROW;
    m.windows = a.windows;
    m.n = a.ticks * a.windows;
    for (int i = SIZE + threadIdx.x; i < ROOM; i += 256) m.d[i] = 0;
    begin(m, a.x);
    for (int i = 0; i < STEP_COUNT; i++) {
        const bool forth = i >= TICK && i < TICK_END, back = i >= TICK_BACK && i < TICK_BACK_END;
        if (i == TICK_END) at = m.n; /* which the first tick to go back ends at */
        if (i == TICK_BACK) at -= m.windows;
        multiply(m, STEPS[i], forth || back ? at : 0, forth || back ? m.windows : m.n);
        follow(m, STEPS[i].then, at);
        if (i + 1 == TICK_END && (at += m.windows) < m.n) i = TICK - 1;
        if (i + 1 == TICK_BACK_END && at > 0) i = TICK_BACK - 1;
    }
}
