/* The world model of the predictor: gradients against finite differences of a second implementation in double, what a
 * tick is taught, what members learn, and that all of it goes on bit for bit.
 *
 * One tick of five members on one thread of an EPYC (Zen 3, AVX2; the other hardware thread busy): learning 31 ms (1.55
 * GFLOP; products run at 75 GFLOP/s), states and forecasts for eight actions 4.8 ms. 18.5 MB. A window of 20 steps of a
 * model of 3 M parameters takes such a thread about 4 s.
 */
#include "private.h"
#include "meter.h"
#include "predict_world_ref.h"

static uint64_t draws;
static double draw(void) { return 2 * hyb_random_uniform(3, 99, draws++) - 1; }

static hybrid_runtime *runtime_of(const char *isa, int threads)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    desc.isa = isa;
    desc.n_threads = threads;
    CHECK(!hybrid_runtime_create(&desc, &rt, NULL), "runtime");
    return rt;
}

static hybrid_result world_create(hybrid_runtime *rt, uint64_t seed, int n_members, hyb_world **w, hybrid_error *e)
{
    return hyb_world_make(rt, hyb_cpu_kernels_for(rt->isa), seed, n_members, w, e);
}

/* A rollout alone, with its own memory. */
static hyb_rollout *rollout_create(const hybrid_runtime *rt)
{
    float *memory = (float *)calloc(HYB_ROLLOUT_FLOATS + HYB_PRODUCT_SCRATCH + 16, sizeof *memory);
    hyb_rollout *s = (hyb_rollout *)calloc(1, sizeof *s);
    hyb_rollout_init(s, hyb_cpu_kernels_for(rt->isa), memory, memory + HYB_ROLLOUT_FLOATS);
    return s;
}
static void rollout_destroy(hyb_rollout *s)
{
    free(s->x);
    free(s);
}

/* ---- the cell ---------------------------------------------------------------------------------------------------- */

/* [R]: 256 units, 64 inputs, one window, U(+-sqrt(2 / 320)), h0 = tanh(x) where there is an x. Its backward against
 * finite differences, and ours against both. */
static void test_cell(const hybrid_runtime *rt)
{
    enum { IN = 64, N = 256 };
    hyb_rollout *s = rollout_create(rt);
    double *p = (double *)malloc(sizeof *p * (3 * N * IN + 3 * N * N + 3 * N)), x[IN], h[N], z[N], r[N], c[N], out[N],
           d[N], da[3 * N], dh[N];
    float *f = (float *)calloc((size_t)(8 * N * HYB_PANEL_ROW + 3 * N * N), sizeof *f), *dgates, *drh, *fh;
    const double width = sqrt(2.0 / 320);
    ref_cell cell;
    hyb_gru gru;
    int i, j, bad = 0;
    TEST("the cell of [R]");
    cell.inputs = IN;
    cell.units = N;
    cell.w = p;
    cell.u = p + 3 * N * IN;
    cell.b = p + 3 * N * IN + 3 * N * N;
    for (i = 0; i < 3 * N * IN + 3 * N * N; i++) p[i] = (float)(width * draw());
    for (i = 0; i < 3 * N; i++) p[3 * N * IN + 3 * N * N + i] = 0;
    for (i = 0; i < IN; i++) x[i] = draw();
    for (i = 0; i < N; i++) {
        h[i] = i < IN ? (float)tanh(x[i]) : 0.1f * (float)draw();
        d[i] = (float)draw();
    }
    ref_cell_forward(&cell, x, h, z, r, c, out);
    ref_cell_back(&cell, h, z, r, c, d, da, dh);
    for (i = 0; i < N; i += 5) { /* dh, and da through the bias */
        for (j = 0; j < 4; j++) {
            double *at = j == 3 ? &h[i] : &p[3 * N * IN + 3 * N * N + j * N + i], old = *at, up = 0, down = 0, fd;
            double t1[N], t2[N], t3[N], o[N];
            const double got = j == 3 ? dh[i] : da[j * N + i];
            int k;
            *at = old + 1e-5;
            ref_cell_forward(&cell, x, h, t1, t2, t3, o);
            for (k = 0; k < N; k++) up += d[k] * o[k];
            *at = old - 1e-5;
            ref_cell_forward(&cell, x, h, t1, t2, t3, o);
            for (k = 0; k < N; k++) down += d[k] * o[k];
            *at = old;
            fd = (up - down) / 2e-5;
            if (fabs(fd - got) > 1e-6 * fabs(fd) + 1e-8) bad++;
        }
    }
    CHECK(!bad, "%d gradients of the reference differ", bad);
    gru.n = N;
    gru.gates = f;
    gru.rh = f + 3 * N * HYB_PANEL_ROW;
    gru.h = fh = f + 4 * N * HYB_PANEL_ROW;
    dgates = f + 5 * N * HYB_PANEL_ROW;
    drh = gru.rh; /* read once more by nobody here */
    gru.u = f + 8 * N * HYB_PANEL_ROW;
    for (i = 0; i < 3 * N * N; i++) f[8 * N * HYB_PANEL_ROW + i] = (float)cell.u[i];
    for (i = 0; i < 3 * N; i++) {
        double a = 0;
        for (j = 0; j < IN; j++) a += cell.w[i * IN + j] * x[j];
        gru.gates[i * HYB_PANEL_ROW] = (float)a;
    }
    for (i = 0; i < N; i++) fh[i * HYB_PANEL_ROW] = (float)h[i];
    hyb_gru_step(&s->lane, &gru, 0, 1);
    for (i = 0; i < N; i++)
        if (fabs(fh[i * HYB_PANEL_ROW + 1] - out[i]) > 2e-6) bad++;
    CHECK(!bad, "%d states differ", bad);
    {
        float *dstate = (float *)calloc(N * HYB_PANEL_ROW, sizeof *dstate);
        for (i = 0; i < N; i++) dstate[i * HYB_PANEL_ROW + 1] = (float)d[i];
        hyb_gru_back(&s->lane, &gru, dstate, dgates, drh, 0, 1);
        for (i = 0; i < N; i++) {
            if (fabs(dstate[i * HYB_PANEL_ROW] - dh[i]) > 1e-5) bad++;
            for (j = 0; j < 3; j++)
                if (fabs(dgates[(j * N + i) * HYB_PANEL_ROW] - da[j * N + i]) > 1e-5) bad++;
        }
        CHECK(!bad, "%d gradients differ", bad);
        free(dstate);
    }
    free(f);
    free(p);
    rollout_destroy(s);
}

/* ---- latents ----------------------------------------------------------------------------------------------------- */

static void test_latent(void)
{
    static float soft[HYB_LATENT * HYB_PANEL_ROW], p[HYB_LATENT * HYB_PANEL_ROW], z[HYB_LATENT * HYB_PANEL_ROW];
    int counts[HYB_LATENT] = { 0 }, i, k, bad = 0;
    double worst = 0;
    TEST("latents");
    for (i = -300; i < 300; i++) {
        const double x = exp(i / 7.0) * (1 + i * 1e-5);
        worst = fmax(worst, fabs(hyb_plain_log(x) - log(x)) / fmax(1, fabs(log(x))));
    }
    CHECK(worst < 4e-16, "the logarithm is wrong by %g", worst);
    for (i = 0; i < HYB_LATENT; i++) soft[i * HYB_PANEL_ROW] = 3 * (float)draw();
    soft[9 * HYB_PANEL_ROW] = 200; /* the others of its choice: by the uniform part alone */
    hyb_latent_chances(soft, p);
    for (k = 0; k < 20000; k++) {
        uint32_t random[4];
        int ones = 0;
        hyb_philox(5, 6, (uint64_t)k, random);
        hyb_latent_sample(p, random, z);
        for (i = 0; i < HYB_LATENT; i++) {
            counts[i] += z[i * HYB_PANEL_ROW] == 1;
            ones += z[i * HYB_PANEL_ROW] == 1;
            bad += z[i * HYB_PANEL_ROW] != 1 && z[i * HYB_PANEL_ROW] != 0;
        }
        bad += ones != 4;
    }
    CHECK(!bad, "%d samples are no choices", bad);
    for (i = 0; i < HYB_LATENT; i++) {
        const double chance = p[i * HYB_PANEL_ROW], sigma = sqrt(chance * (1 - chance) / 20000);
        CHECK(chance >= 0.00124 && fabs(counts[i] / 20000.0 - chance) < 4.5 * sigma, "class %d: %d of 20000, p %g", i,
              counts[i], chance);
    }
}

/* ---- gradients of everything ------------------------------------------------------------------------------------- */

/* Labels of all kinds, and ticks that have none. */
static void draw_labels(hyb_heads_labels *y, int c)
{
    int g, i;
    memset(y, 0, sizeof *y);
    y->has_loss = c == 4 ? 0 : c == 2 ? 5 : 15;
    y->has_delta = c != 1;
    y->has_gain = c % 2 == 0;
    y->has_ok = c % 3 != 0;
    y->ok = c % 3 == 1;
    y->gain = (float)draw();
    for (i = 0; i < HYB_HORIZONS; i++) y->y[i] = 2 * (float)draw();
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        double a[3][4];
        int j, k, n = 0;
        for (i = 0; i < 3; i++)
            for (j = 0; j < 4; j++) a[i][j] = draw() / 4;
        for (i = 0; i < 3; i++) {
            y->c[g][i] = (float)draw();
            for (j = i; j < 3; j++, n++) {
                double sum = 0;
                for (k = 0; k < 4; k++) sum += a[i][k] * a[j][k];
                y->gram[g][n] = (float)sum;
            }
        }
    }
}

/* d(loss) along a direction of one tensor, or of one weight: ours against (L(w + h u) - L(w - h u)) / 2h. */
static void check_direction(const char *name, ref_run *run, double *w, const float *grad, int at, int n, int one)
{
    double *u = (double *)calloc((size_t)n, sizeof *u), ours = 0, up, down, size = 0, fd;
    const double h = one >= 0 ? 1e-5 : 1e-6;
    int i;
    for (i = 0; i < n; i++) {
        u[i] = one >= 0 ? i == one : draw();
        ours += u[i] * grad[at + i];
        size += (double)grad[at + i] * grad[at + i];
    }
    for (i = 0; i < n; i++) w[at + i] += h * u[i];
    up = ref_loss(w, run);
    for (i = 0; i < n; i++) w[at + i] -= 2 * h * u[i];
    down = ref_loss(w, run);
    for (i = 0; i < n; i++) w[at + i] += h * u[i];
    fd = (up - down) / (2 * h);
    CHECK(fabs(fd - ours) < 1e-3 * fabs(fd) + (one >= 0 ? 1e-5 : 1e-4) * sqrt(size) + 1e-9,
          "%s[%d]: %.9g, finite differences %.9g", name, one, ours, fd);
    free(u);
}

static void test_gradients(const hybrid_runtime *rt)
{
    enum { TICKS = 3, WINDOWS = 2, N = TICKS * WINDOWS };
    static const int at[] = {
#define HYB_WEIGHT(name_, rows_, columns_, bias_) HYB_AT_##name_,
        HYB_MEMBER_WEIGHTS(HYB_WEIGHT)
#undef HYB_WEIGHT
    };
    static const int size[] = {
#define HYB_WEIGHT(name_, rows_, columns_, bias_) (rows_) * (columns_),
        HYB_MEMBER_WEIGHTS(HYB_WEIGHT)
#undef HYB_WEIGHT
    };
    static const char *const names[] = {
#define HYB_WEIGHT(name_, rows_, columns_, bias_) #name_,
        HYB_MEMBER_WEIGHTS(HYB_WEIGHT)
#undef HYB_WEIGHT
    };
    hyb_rollout *s = rollout_create(rt);
    float *w = (float *)calloc(HYB_MEMBER_ROOM, sizeof *w), *grad = (float *)calloc(HYB_MEMBER_ROOM, sizeof *grad);
    double *wide = (double *)calloc(HYB_MEMBER_ROOM, sizeof *wide), x[N * 70], miss[N], ours, theirs;
    ref_run *run = (ref_run *)calloc(1, sizeof *run);
    hyb_heads_labels labels[N];
    static const hyb_role roles[N] = { HYB_ROLE_TAUGHT, HYB_ROLE_HELD, HYB_ROLE_TAUGHT,
                                       HYB_ROLE_TAUGHT, HYB_ROLE_NONE, HYB_ROLE_HELD };
    const float weight[N] = { 0.2f, 0.3f, 0.1f, 0.15f, 0, 0.25f };
    hyb_share share[N];
    hyb_trust trust;
    uint32_t random[HYB_PANEL_ROW][4];
    hyb_world_loss loss, held;
    int c, i, k, over = 0, under = 0;
    TEST("gradients");
    hyb_member_init(w, 11, 2);
    for (i = 0; i < HYB_MEMBER_SIZE; i++) w[i] += 0.02f * (float)draw(); /* biases, factors and heads, too */
    for (i = 0; i < size[5]; i++) w[at[5] + i] *= 3.4f;                  /* so that some posteriors are sharp */
    w[HYB_AT_head + 5 * 130 + 128] -= 1; /* o1 and o11 away from their bounds, where there is no derivative */
    w[HYB_AT_head + 15 * 130 + 128] += 1;
    for (i = 0; i < HYB_MEMBER_SIZE; i++) wide[i] = w[i];
    s->ticks = TICKS;
    s->windows = WINDOWS;
    run->ticks = TICKS;
    run->windows = WINDOWS;
    run->x = x;
    run->miss = miss;
    run->labels = labels;
    run->weight = weight;
    run->roles = roles;
    run->trust = &trust;
    memset(&trust, 0, sizeof trust);
    for (i = 0; i < HYB_HORIZONS; i++) {
        trust.a[i] = 0.6;
        trust.b[i] = 0.2 * i;
    }
    for (c = 0; c < N; c++) {
        share[c].role = roles[c];
        share[c].weight = share[c].kl = weight[c];
    }
    for (c = 0; c < N; c++) {
        draw_labels(&labels[c], c);
        miss[c] = s->trunk_act[(HYB_WORLD_UNITS + 1) * HYB_PANEL_ROW + c] = (float)draw();
        for (i = 0; i < 70; i++) x[c * 70 + i] = s->x[i * HYB_PANEL_ROW + c] = 2 * (float)draw();
        hyb_philox(1, 2, (uint64_t)c, random[c]);
    }
    memset(&loss, 0, sizeof loss);
    memset(&held, 0, sizeof held);
    hyb_rollout_states(s, w, (const uint32_t(*)[4])random);
    hyb_rollout_outputs(s, w);
    hyb_rollout_loss(s, labels, share, &trust, &loss, &held);
    hyb_rollout_back(s, w, grad);
    for (c = 0; c < N; c++)
        for (i = 0; i < HYB_LATENT; i++) {
            run->sample[c][i] = s->in[HYB_IN_Z + i * HYB_PANEL_ROW + c];
            run->q0[c][i] = s->q[i * HYB_PANEL_ROW + c];
            run->p0[c][i] = s->p[i * HYB_PANEL_ROW + c];
        }
    ref_loss(wide, run);
    for (c = 0; c < N; c++) { /* the forward pass; and frozen values that are exactly those of the reference */
        double worst = 0;
        for (i = 0; i < HYB_HEADS; i++) worst = fmax(worst, fabs(run->out[c][i] - s->out[i * HYB_PANEL_ROW + c]));
        for (i = 0; i < HYB_LATENT; i++) {
            worst = fmax(worst, fabs(run->q[c][i] - run->q0[c][i]));
            worst = fmax(worst, fabs(run->p[c][i] - run->p0[c][i]));
        }
        CHECK(worst < 5e-6, "column %d: outputs differ by %g", c, worst);
        over += roles[c] != HYB_ROLE_NONE && run->kl[c] > 1;
        under += roles[c] != HYB_ROLE_NONE && run->kl[c] < 1;
    }
    CHECK(trust.n[0] == 2 && held.n_nll[0] == 2 && loss.n_nll[0] == 3, "%g ticks for the trust", trust.n[0]);
    CHECK(over && under, "KLs on both sides of a nat: %d and %d", over, under);
    memcpy(run->q0, run->q, sizeof run->q);
    memcpy(run->p0, run->p, sizeof run->p);
    run->frozen = true;
    ours = loss.delta + loss.gain + held.gain + HYB_LOSS_OK * loss.ok;
    for (c = 0; c < HYB_HORIZONS; c++) ours += loss.nll[c] + held.nll[c];
    for (c = 0, theirs = 0; c < N; c++)
        if (roles[c] != HYB_ROLE_NONE) theirs += ref_heads(run, c);
    CHECK(fabs(ours - theirs) < 1e-5 * theirs, "what the heads cost: %.9g, %.9g", ours, theirs);
    for (k = 0; k < (int)HYB_COUNT(at); k++) {
        double all = 0;
        for (i = 0; i < size[k]; i++) all += fabs(grad[at[k] + i]);
        CHECK(all > 1e-6, "%s has no gradient", names[k]);
        for (i = 0; i < 3; i++) check_direction(names[k], run, wide, grad, at[k], size[k], -1);
        for (i = 0; i < 3; i++)
            check_direction(names[k], run, wide, grad, at[k], size[k], (int)((draw() + 1) / 2 * size[k]));
    }
    free(run);
    free(wide);
    free(grad);
    free(w);
    rollout_destroy(s);
}

/* KL balancing: 0.5 teaches p, 0.1 holds q, and below a nat neither. */
static void test_balance(const hybrid_runtime *rt)
{
    hyb_rollout *s = rollout_create(rt);
    hyb_heads_labels none[2];
    const hyb_share share[2] = { { HYB_ROLE_TAUGHT, 1, 0.5f }, { HYB_ROLE_HELD, 1, 0.25f } };
    hyb_trust trust;
    hyb_world_loss loss;
    int i, c;
    TEST("KL balancing");
    memset(none, 0, sizeof none);
    memset(&trust, 0, sizeof trust);
    memset(&loss, 0, sizeof loss);
    s->ticks = 1;
    s->windows = 2;
    for (c = 0; c < 2; c++) {
        for (i = 0; i < HYB_LATENT; i++) {
            s->q_soft[i * HYB_PANEL_ROW + c] = (c ? 0.1f : 4.0f) * (float)draw();
            s->p_soft[i * HYB_PANEL_ROW + c] = (c ? 0.1f : 2.0f) * (float)draw();
        }
        hyb_latent_chances(s->q_soft + c, s->q + c);
        hyb_latent_chances(s->p_soft + c, s->p + c);
    }
    hyb_rollout_loss(s, none, share, &trust, &loss, &loss);
    for (i = 0; i < HYB_LATENT; i++) {
        const double q = s->q[i * HYB_PANEL_ROW], p = s->p[i * HYB_PANEL_ROW];
        const double d_p = s->d_p[i * HYB_PANEL_ROW], d_q = s->d_q[i * HYB_PANEL_ROW];
        CHECK(fabs(d_p + 0.5 * 0.5 * q / p) < 1e-5 * q / p, "prior %d: %g", i, d_p);
        CHECK(fabs(d_q - 0.1 * 0.5 * log(q / p)) < 1e-5, "posterior %d: %g", i, d_q);
        CHECK(s->d_p[i * HYB_PANEL_ROW + 1] == 0 && s->d_q[i * HYB_PANEL_ROW + 1] == 0, "below a nat");
    }
    CHECK(loss.n_ticks == 2 && loss.kl > 1, "KL %g of %g ticks", loss.kl, loss.n_ticks);
    rollout_destroy(s);
}

/* ---- the delta --------------------------------------------------------------------------------------------------- */

static void test_delta(void)
{
    float o[HYB_DELTA_OUTPUTS] = { 0 }, c[8][3], dc[8][3], d[HYB_DELTA_OUTPUTS];
    int g, i;
    TEST("delta");
    hyb_delta_coefficients(o, c);
    for (g = 0; g < 8; g++)
        CHECK(c[g][0] == -0.3f && c[g][1] == 0.35f && c[g][2] == 0.0f, "the prior is %g %g %g", c[g][0], c[g][1],
              c[g][2]);
    for (i = 0; i < HYB_DELTA_OUTPUTS; i++) o[i] = -9;
    hyb_delta_coefficients(o, c);
    CHECK(c[3][0] > -0.001f && c[3][1] < 0 && c[3][1] > -0.001f && c[3][2] == 0, "low: %g %g %g", c[3][0], c[3][1],
          c[3][2]);
    for (i = 0; i < HYB_DELTA_OUTPUTS; i++) o[i] = 9;
    hyb_delta_coefficients(o, c);
    CHECK(fabs(c[3][0] + 0.6f) < 0.001f && fabs(c[3][1] - 0.35f * 2.5f * 2) < 0.01f && fabs(c[3][2] - 0.5f) < 0.001f,
          "high: %g %g %g", c[3][0], c[3][1], c[3][2]);
    /* outputs that begin on a bound: only what leads back from it passes */
    memset(o, 0, sizeof o);
    memset(dc, 0, sizeof dc);
    for (g = 0; g < 8; g++) {
        dc[g][1] = 1;
        dc[g][2] = 1;
    }
    hyb_delta_coefficients_back(o, (const float(*)[3])dc, d);
    CHECK(d[1] > 0 && d[11] == 0, "against b and r: %g %g", d[1], d[11]);
    for (g = 0; g < 8; g++) dc[g][1] = dc[g][2] = -1;
    hyb_delta_coefficients_back(o, (const float(*)[3])dc, d);
    CHECK(d[1] == 0 && d[11] < 0, "towards b and r: %g %g", d[1], d[11]);
}

/* ---- what a tick is taught --------------------------------------------------------------------------------------- */

static void add_tick(hyb_world *w, float loss)
{
    float x[HYB_WORLD_FEATURES], ahead[HYB_HORIZONS];
    int i;
    for (i = 0; i < HYB_WORLD_FEATURES; i++) x[i] = 0.1f * (float)i;
    for (i = 0; i < HYB_HORIZONS; i++) ahead[i] = -(float)i;
    hyb_world_tick(w, x, loss, 0.5f, ahead);
}

static void test_labels(hybrid_runtime *rt)
{
    hyb_world *w = NULL;
    hyb_heads_labels y;
    hyb_world_label label;
    const float bad[HYB_HORIZONS] = { 0, 0, NAN, 0 };
    float x[HYB_WORLD_FEATURES] = { 0 }, action[6] = { 5, -70, NAN, 1, 2, 3 };
    int64_t *first;
    float unit;
    int i, g;
    TEST("labels");
    CHECK(!world_create(rt, 1, 1, &w, NULL), "create");
    first = w->first;
    CHECK(hyb_world_now(w) == -1 && !hyb_world_learn(w), "nothing was seen");
    for (i = 0; i < 12; i++) add_tick(w, 0.01f * (float)i);
    CHECK(hyb_world_now(w) == 11, "now");
    unit = w->replay.ticks[3].unit;
    CHECK(fabs(unit - sqrt((0.01 * 0.01 + 0.02 * 0.02 + 0.03 * 0.03) / 3)) < 1e-6, "unit %g", unit);
    hyb_replay_labels(&w->replay, 3, &y);
    CHECK(y.has_loss == 15 && fabs(y.y[0] - 0.04f / unit) < 1e-4f, "+1: %g", y.y[0]);
    CHECK(y.y[1] == 10 && y.y[3] == 10, "far labels are cut at 10 units: %g %g", y.y[1], y.y[3]);
    hyb_replay_labels(&w->replay, 9, &y);
    CHECK(y.has_loss == 3, "9: only +1 and +2 have come: %x", y.has_loss);
    CHECK(!y.has_delta && !y.has_gain && !y.has_ok, "nothing else is known");
    CHECK(w->replay.ticks[5].miss == -10 && w->replay.ticks[0].miss == 0, "misses %g", w->replay.ticks[5].miss);

    /* a roll-back: nothing reaches over it */
    hyb_world_break(w);
    for (i = 0; i < 8; i++) add_tick(w, 0.5f);
    hyb_replay_labels(&w->replay, 9, &y);
    CHECK(y.has_loss == 3, "9: %x after a roll-back", y.has_loss);
    hyb_replay_labels(&w->replay, 12, &y);
    CHECK(y.has_loss == 7, "12: %x", y.has_loss);
    CHECK(hyb_foresee_earlier(&w->replay) == 7, "states begin at the roll-back");
    first[0] = 4;
    for (i = 1; i < HYB_PANEL_WINDOWS; i++) first[i] = 4;
    hyb_members_fill(w, 16);
    CHECK(w->counted[7 * HYB_PANEL_WINDOWS] && !w->counted[8 * HYB_PANEL_WINDOWS], "a window ends at the roll-back");

    /* what is not finite is not known */
    x[3] = INFINITY;
    hyb_world_tick(w, x, NAN, 0, bad);
    CHECK(w->replay.ticks[20].known == 0 && w->replay.ticks[20].x[3] == 0, "a tick of nothing");
    hyb_world_act(w, action);
    CHECK(w->replay.ticks[20].x[64] == 5 && w->replay.ticks[20].x[65] == -10 && w->replay.ticks[20].x[66] == 0,
          "the action");
    hyb_replay_labels(&w->replay, 19, &y);
    CHECK(!y.has_loss, "19: %x", y.has_loss);

    memset(&label, 0, sizeof label);
    label.has_delta = label.has_gain = label.has_verdict = true;
    label.gain = 30;
    label.ok = true;
    for (g = 0; g < 8; g++) {
        label.gram[g][0] = g == 2 ? 3e-12f : 0;
        label.gram[g][3] = 6e-12f;
        label.c[g][1] = 0.25f;
    }
    hyb_world_know(w, 6, &label);
    hyb_world_know(w, 600, &label);
    hyb_world_know(w, -1, &label);
    hyb_replay_labels(&w->replay, 6, &y);
    CHECK(y.has_delta && fabs(y.gram[2][0] - 1) < 1e-6f && fabs(y.gram[1][3] - 2) < 1e-6f && y.c[7][1] == 0.25f,
          "Gram %g %g", y.gram[2][0], y.gram[1][3]);
    CHECK(y.has_gain && y.gain == 1.5f && y.has_ok && y.ok, "gain %g", y.gain);
    label.gram[1][5] = NAN;
    label.ok = false;
    label.gain = INFINITY;
    hyb_world_know(w, 6, &label);
    hyb_replay_labels(&w->replay, 6, &y);
    CHECK(!y.has_delta && y.gain == 1.5f && y.has_ok && !y.ok, "a Gram matrix with NaN");

    /* the ring goes round; an audited tick is in the second window; all windows lie in what there is */
    for (i = 0; i < HYB_REPLAY_TICKS + 40; i++) add_tick(w, 0.001f * (float)(i % 7));
    CHECK(hyb_replay_first(&w->replay) == 61 && !hyb_replay_has(&w->replay, 60, 0), "the ring");
    hyb_world_know(w, 6, &label);
    label.gain = 4;
    hyb_world_know(w, 700, &label);
    for (i = 0; i < 50; i++) {
        hyb_replay_draw(&w->replay, 9, i, first);
        CHECK(first[0] == w->replay.n - 16 && first[1] <= 700 && first[1] + 16 > 700, "windows %d, %d", (int)first[0],
              (int)first[1]);
        for (g = 0; g < HYB_PANEL_WINDOWS; g++)
            CHECK(first[g] >= 61 && first[g] + 16 <= w->replay.n, "window %d at %d", g, (int)first[g]);
    }
    hyb_world_destroy(w);
    hyb_world_destroy(NULL);
}

/* What a mean is worth: least squares of ticks that it was never taught, and nothing where nothing is known. */
static void test_trust(hybrid_runtime *rt)
{
    hyb_trust b;
    hyb_world *w = NULL;
    int i, m, held[5] = { 0 };
    TEST("trust");
    memset(&b, 0, sizeof b);
    hyb_trust_solve(&b, 10);
    CHECK(b.a[0] == 0 && hyb_trust_mean(&b, 0, 3, 4) == 0, "nothing is known: a = %g", b.a[0]);
    for (i = 0; i < 4000; i++) {
        const double o = draw(), r = draw();
        hyb_trust_add(&b, 1, o, r, 0.5 * o - 0.25 * r + 0.1 * draw());
        hyb_trust_add(&b, 2, o, r, -2 * o + 3 * r);
        hyb_trust_add(&b, 3, o, 0, o); /* r tells nothing, and is 0 */
    }
    hyb_trust_solve(&b, 1e6);
    CHECK(fabs(b.a[1] - 0.5) < 0.02 && fabs(b.b[1] + 0.25) < 0.02, "a = %g, b = %g", b.a[1], b.b[1]);
    CHECK(b.a[2] == 0 && b.b[2] == 1.5, "bounds: a = %g, b = %g", b.a[2], b.b[2]);
    CHECK(fabs(b.a[3] - 1) < 0.01 && fabs(b.b[3]) < 1e-9, "a = %g, b = %g", b.a[3], b.b[3]);
    hyb_trust_solve(&b, 8);
    CHECK(b.a[1] > 0.1 && b.a[1] < 0.2, "little is known: a = %g", b.a[1]);
    /* each tick is held back from one member of five, in blocks */
    CHECK(!world_create(rt, 3, 5, &w, NULL), "create");
    for (i = 0; i < 800; i++) {
        int count = 0;
        for (m = 0; m < 5; m++) {
            count += hyb_members_held(w, m, i);
            held[m] += hyb_members_held(w, m, i);
            CHECK(hyb_members_held(w, m, i) == hyb_members_held(w, m, i / 8 * 8), "blocks of eight");
        }
        CHECK(count == 1, "tick %d is held back from %d members", i, count);
    }
    for (m = 0; m < 5; m++) CHECK(held[m] == 160, "%d ticks of 800 are held back from member %d", held[m], m);
    hyb_world_destroy(w);
}

/* ---- it learns ----------------------------------------------------------------------------------------------------
 */

/* The log loss is the law and a residual r: AR(1) of 0.9 or of -0.7, in turns of 12 to 30 ticks that nobody announces.
 * Features: r now and before, and noise. */
typedef struct dynamics {
    double r, before;
    int left, regime;
} dynamics;

static void dynamics_next(dynamics *d)
{
    double noise = (draw() + draw() + draw()) * 0.01; /* of deviation 0.01 */
    if (d->left-- <= 0) {
        d->left = 12 + (int)((draw() + 1) * 9);
        d->regime = !d->regime;
    }
    d->before = d->r;
    d->r = (d->regime ? 0.9 : -0.7) * d->r + noise;
}

static void dynamics_tick(hyb_world *w, const dynamics *d)
{
    static const float zeros[HYB_HORIZONS] = { 0 };
    float x[HYB_WORLD_FEATURES];
    int i;
    for (i = 0; i < HYB_WORLD_FEATURES; i++) x[i] = i < 40 ? 0.3f * (float)draw() : 0;
    x[0] = (float)(d->r * 60);
    x[1] = (float)(d->before * 60);
    hyb_world_tick(w, x, (float)d->r, 0, zeros);
}

static double normal_nll(double far, double variance)
{
    return 0.5 * far * far / variance + 0.5 * log(2 * 3.14159265358979 * variance);
}

/* Deviation of the best law that is given all of the truth: of `far` over n. */
static double best_nll(const double *far, int n)
{
    double square = 0;
    int i;
    for (i = 0; i < n; i++) square += far[i] * far[i] / n;
    return normal_nll(sqrt(square), square);
}

static void test_learning(hybrid_runtime *rt)
{
    const bool slow = getenv("HYBRID_SANITIZER") != NULL;
    const int n = slow ? 120 : 330, late = slow ? 60 : 160, members = slow ? 1 : 2;
    const float action[1][6] = { { 0 } };
    double last[512], flat[512], nll = 0, near_spread = 0, far_spread = 0;
    dynamics d = { 0, 0, 0, 0 };
    hyb_world *w = NULL;
    hyb_forecast f;
    int i, k = 0, covered = 0;
    TEST("it learns");
    CHECK(!world_create(rt, 5, members, &w, NULL), "create");
    for (i = 0; i < n; i++) {
        dynamics_next(&d);
        dynamics_tick(w, &d);
        hyb_world_learn(w);
        CHECK(hyb_world_foresee(w, action, 1, 0, &f), "foresee");
        if (i < n - late) continue;
        {
            dynamics then = d;
            const uint64_t before = draws;
            double variance = f.aleatoric[0] + f.epistemic[0], far;
            dynamics_next(&then);
            draws = before;
            far = then.r - f.mean[0];
            nll += normal_nll(far, variance) / late;
            covered += far * far < 1.645 * 1.645 * variance;
            last[k] = then.r - d.r;
            flat[k++] = then.r;
            near_spread += f.spread / late;
        }
    }
    printf("  after %d ticks: nll %.3f, last value %.3f, constant law %.3f, 90 %% band covers %.0f %%, spread %.2f\n",
           n, nll, best_nll(last, k), best_nll(flat, k), 100.0 * covered / k, near_spread);
    CHECK(nll < best_nll(last, k), "nll %g, last value %g", nll, best_nll(last, k));
    if (!slow) CHECK(nll < best_nll(flat, k), "nll %g, constant law %g", nll, best_nll(flat, k));
    if (!slow) CHECK(covered > 0.82 * k && covered < 0.97 * k, "%d of %d covered", covered, k);
    CHECK(f.delta[0] == 0 && f.delta[11] == 0, "no label, no delta: %g", f.delta[0]);
    for (i = 0; i < 20 && members > 1; i++) { /* ticks such as it has never seen */
        float x[HYB_WORLD_FEATURES];
        const float zeros[HYB_HORIZONS] = { 0 };
        int j;
        for (j = 0; j < HYB_WORLD_FEATURES; j++) x[j] = 5 * (draw() > 0 ? 1.0f : -1.0f);
        hyb_world_tick(w, x, (float)d.r, 0, zeros);
        hyb_world_foresee(w, action, 1, 0, &f);
        far_spread += f.spread / 20;
    }
    if (members > 1) CHECK(far_spread > 2 * near_spread, "spread %g, far out %g", near_spread, far_spread);
    hyb_world_destroy(w);
}

/* The other heads: labels that depend on the action alone; the world must tell the actions apart. */
static void test_actions(hybrid_runtime *rt)
{
    const int n = getenv("HYBRID_SANITIZER") ? 50 : 120;
    const float actions[2][6] = { { 0 }, { 4, 1, -0.3f, 0.35f, 0, 1 } };
    hyb_world *w = NULL;
    hyb_world_label label;
    hyb_forecast f[2];
    float c[8][3];
    dynamics d = { 0, 0, 0, 0 };
    int i, g;
    TEST("actions");
    CHECK(!world_create(rt, 6, 1, &w, NULL), "create");
    memset(&label, 0, sizeof label);
    label.has_delta = label.has_gain = label.has_verdict = true;
    for (i = 0; i < n; i++) {
        const int jump = draw() > 0;
        dynamics_next(&d);
        dynamics_tick(w, &d);
        hyb_world_act(w, actions[jump]);
        for (g = 0; g < 8; g++) {
            label.gram[g][0] = label.gram[g][3] = label.gram[g][5] = 1;
            label.c[g][0] = -0.3f;
            label.c[g][1] = jump ? 0.6f : 0.2f;
            label.c[g][2] = 0.1f;
        }
        label.gain = jump ? 20.0f : 0.0f;
        label.ok = !jump;
        hyb_world_know(w, hyb_world_now(w), &label);
        hyb_world_learn(w);
    }
    CHECK(hyb_world_foresee(w, actions, 2, 10, f), "foresee");
    hyb_delta_coefficients(f[0].delta, c);
    printf("  off: gain %.1f, P %.2f, ok %.2f, c_b %.2f;", f[0].gain, f[0].gain_chance, f[0].ok, c[0][1]);
    CHECK(fabs(c[0][1] - 0.2f) < 0.12f, "c_b %g of 0.2", c[0][1]);
    hyb_delta_coefficients(f[1].delta, c);
    printf(" jump: gain %.1f, P %.2f, ok %.2f, c_b %.2f, c_r %.2f\n", f[1].gain, f[1].gain_chance, f[1].ok, c[0][1],
           c[0][2]);
    CHECK(fabs(c[0][1] - 0.6f) < 0.12f && c[0][2] > 0.01f, "c_b %g of 0.6, c_r %g of 0.1", c[0][1], c[0][2]);
    CHECK(f[0].gain < 6 && f[1].gain > 14 && f[0].gain_chance < 0.35f && f[1].gain_chance > 0.65f, "gain");
    CHECK(f[0].ok > 0.65f && f[1].ok < 0.35f, "verdict");
    hyb_world_destroy(w);
}

/* ---- bits -------------------------------------------------------------------------------------------------------- */

static void drive(hyb_world *w, int from, int to, bool learn)
{
    const float action[6] = { 1, 0, 0.5f, 0, 0, 1 };
    float x[HYB_WORLD_FEATURES], ahead[HYB_HORIZONS] = { 0.1f, 0.2f, 0.3f, 0.4f };
    int t, i;
    for (t = from; t < to; t++) {
        for (i = 0; i < HYB_WORLD_FEATURES; i++)
            x[i] = (float)(2 * hyb_random_uniform(8, (uint64_t)t, (uint64_t)i) - 1);
        hyb_world_tick(w, x, x[0], x[1], ahead);
        if (learn) hyb_world_learn(w);
        if (t % 2) hyb_world_act(w, action);
    }
}

static unsigned char *world_bytes(hyb_world *w, size_t *n)
{
    hyb_byte_walk walk;
    unsigned char *bytes;
    memset(&walk, 0, sizeof walk);
    hyb_world_walk(w, &walk);
    *n = walk.size = walk.n;
    bytes = (unsigned char *)malloc(walk.n);
    walk.at = bytes;
    walk.n = 0;
    hyb_world_walk(w, &walk);
    CHECK(!walk.failed && walk.n == *n, "written");
    return bytes;
}

static bool world_read(hyb_world *w, unsigned char *bytes, size_t n)
{
    hyb_byte_walk walk;
    memset(&walk, 0, sizeof walk);
    walk.at = bytes;
    walk.size = n;
    walk.reads = true;
    hyb_world_walk(w, &walk);
    return !walk.failed && walk.n == n;
}

static void test_resume(hybrid_runtime *rt)
{
    const float actions[3][6] = { { 0 }, { 1, 2, 3, 0, 0, 1 }, { 0, 0, 0, 5, 0, 1 } };
    hyb_world *a = NULL, *b = NULL, *c = NULL, *d = NULL;
    hyb_forecast fa[3], fb[3];
    unsigned char *bytes, *end_a, *end_b;
    size_t n, n_a, n_b;
    TEST("resume");
    CHECK(!world_create(rt, 12, 2, &a, NULL) && !world_create(rt, 77, 2, &b, NULL), "create");
    CHECK(!world_create(rt, 12, 1, &c, NULL) && !world_create(rt, 1, 2, &d, NULL), "create");
    drive(a, 0, 8, true);
    drive(a, 8, 19, false);
    drive(a, 19, 21, true);
    hyb_world_foresee(a, actions, 3, 1, fa);
    bytes = world_bytes(a, &n);
    drive(b, 0, 3, true); /* another past, which must not shine through */
    CHECK(world_read(b, bytes, n), "read");
    hyb_world_foresee(b, actions, 3, 1, fb);
    CHECK(!memcmp(fa, fb, sizeof fa), "the same forecasts");
    hyb_world_foresee(a, actions, 3, 1, fa);
    hyb_world_learn(a); /* its states are those of the weights before */
    hyb_world_learn(b);
    hyb_world_foresee(a, actions, 3, 1, fa);
    CHECK(world_read(d, bytes, n) && hyb_world_learn(d), "read");
    hyb_world_foresee(d, actions, 3, 1, fb); /* has none yet */
    CHECK(!memcmp(fa, fb, sizeof fa), "the same forecasts with new weights");
    drive(a, 21, 24, true);
    drive(b, 21, 24, true);
    hyb_world_foresee(a, actions, 3, 1, fa);
    hyb_world_foresee(b, actions, 3, 1, fb);
    CHECK(!memcmp(fa, fb, sizeof fa), "the same forecasts later");
    end_a = world_bytes(a, &n_a);
    end_b = world_bytes(b, &n_b);
    CHECK(n_a == n_b && !memcmp(end_a, end_b, n_a), "the same world later");
    CHECK(fa[1].mean[0] != fa[0].mean[0], "actions are seen");
    CHECK(!world_read(c, bytes, n), "one of two members is not one of one");
    CHECK(!world_read(b, bytes, n - 1), "cut off");
    drive(b, 0, 1, true); /* whatever was read: it can be gone on with */
    free(bytes);
    free(end_a);
    free(end_b);
    hyb_world_destroy(a);
    hyb_world_destroy(b);
    hyb_world_destroy(c);
    hyb_world_destroy(d);
}

/* The same bits whatever the threads and the instruction set. */
static void test_bits(void)
{
    static const char *const isa[] = { NULL, NULL, NULL, "generic" };
    static const int threads[] = { 1, 2, 3, 3 };
    const float action[1][6] = { { 1, 2, 3, 0, 0, 1 } };
    unsigned char *first = NULL;
    hyb_forecast forecast[4];
    size_t n_first = 0, i;
    TEST("bits");
    for (i = 0; i < HYB_COUNT(isa) - (getenv("HYBRID_SANITIZER") ? 1 : 0); i++) {
        hybrid_runtime *rt = runtime_of(isa[i], threads[i]);
        hyb_world *w = NULL;
        unsigned char *bytes;
        size_t n;
        CHECK(!world_create(rt, 4, 3, &w, NULL), "create");
        drive(w, 0, 2, true);
        drive(w, 2, 4, false);
        hyb_world_foresee(w, action, 1, 0, &forecast[i]);
        bytes = world_bytes(w, &n);
        if (!i) {
            first = bytes;
            n_first = n;
        } else {
            CHECK(n == n_first && !memcmp(bytes, first, n), "other weights with %d threads, %s", threads[i],
                  hybrid_runtime_isa(rt));
            CHECK(!memcmp(&forecast[i], &forecast[0], sizeof *forecast), "another forecast with %d threads",
                  threads[i]);
            free(bytes);
        }
        hyb_world_destroy(w);
        hybrid_runtime_destroy(rt);
    }
    free(first);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static size_t allocated;
static void *counting_alloc(void *user, size_t size)
{
    void *p = meter_alloc(user, size);
    if (p) allocated += size;
    return p;
}

static void test_memory(void)
{
    meter m = { 1000000, 0 };
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    hybrid_error e;
    hyb_world *w = NULL;
    hybrid_allocator allocator;
    long i, blocks;
    TEST("memory");
    memset(&desc, 0, sizeof desc);
    memset(&allocator, 0, sizeof allocator);
    allocator.alloc = counting_alloc;
    allocator.free = meter_free;
    allocator.user = &m;
    desc.allocator = allocator;
    desc.n_threads = 2;
    CHECK(!hybrid_runtime_create(&desc, &rt, &e), "runtime: %s", e.message);
    for (i = 1; i <= 5; i += 2) {
        allocated = 0;
        CHECK(!world_create(rt, 1, (int)i, &w, &e), "create");
        CHECK(allocated == hyb_world_bytes(rt, (int)i), "%ld members: %zu bytes, planned %zu", i, allocated,
              hyb_world_bytes(rt, (int)i));
        allocated = 0;
        drive(w, 0, 3, true);
        CHECK(!allocated, "%zu bytes later", allocated);
        hyb_world_destroy(w);
    }
    blocks = m.blocks;
    for (i = 0; i < 4; i++) {
        m.until = i;
        w = NULL;
        if (!world_create(rt, 1, 2, &w, &e)) break;
        CHECK(e.result == HYBRID_ERROR_MEMORY && !w && m.blocks == blocks, "after %ld allocations: %s", i, e.message);
    }
    CHECK(i == 1, "%ld allocations", i);
    hyb_world_destroy(w);
    CHECK(world_create(rt, 1, 0, &w, &e) == HYBRID_ERROR_INVALID, "no members");
    CHECK(world_create(rt, 1, 17, &w, &e) == HYBRID_ERROR_INVALID, "too many members");
    CHECK(m.blocks == blocks, "all is freed");
    m.until = 1000000;
    hybrid_runtime_destroy(rt);
    CHECK(!m.blocks, "all is freed");
}

int main(void)
{
    const bool slow = getenv("HYBRID_SANITIZER") != NULL; /* what learning does, the rest does too, in fewer steps */
    hybrid_runtime *rt = runtime_of(NULL, 1);
    if (test_wanted("cell")) test_cell(rt);
    if (test_wanted("latent")) test_latent();
    if (test_wanted("gradients")) test_gradients(rt);
    if (test_wanted("balance")) test_balance(rt);
    if (test_wanted("delta")) test_delta();
    if (test_wanted("labels")) test_labels(rt);
    if (test_wanted("trust")) test_trust(rt);
    if (!slow && test_wanted("learning")) test_learning(rt);
    if (!slow && test_wanted("actions")) test_actions(rt);
    if (test_wanted("resume")) test_resume(rt);
    if (test_wanted("bits")) test_bits();
    if (test_wanted("memory")) test_memory();
    hybrid_runtime_destroy(rt);
    return test_end();
}
