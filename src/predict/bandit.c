/* predict/bandit: which arm is worth it now. The reward of an arm is what it gained beyond what it cost, as a part of
 * the time it took, in true steps: 0.05 is five percent faster. That of "off" is 0 by definition: where nothing is
 * expected to be better, nothing is done.
 *
 *     reward = x . (common + way) + arm + noise        x: 12 numbers of the run, the first is 1
 *
 * 12 weights are common to all arms, 12 belong to each way (A, A2, B, C), and one to each arm: what is learnt of one
 * arm is believed of its brothers, too, so that eleven placebos are not tried eleven times as often as one. All weights
 * are normal beforehand (hyb_bandit_prior), and so they are afterwards; one draw of them decides (Thompson sampling).
 *
 * An arm that is unlikely to gain anything is not tried, even if the draw says so: the best of eleven draws looks good
 * where all arms are bad. Old rewards fade by 0.99 with each new one (and hardly while nothing is tried, or harm would
 * be tried again every hundred decisions); the prior does not fade. So the whole matrix changes each time, which is why
 * it is factorized anew (71 x 71, a tenth of a millisecond) and not brought up to date by Sherman and Morrison's
 * formula. */
#ifndef HYB_PREDICT_BANDIT_C
#define HYB_PREDICT_BANDIT_C
#include "../core/random.c"
#include "arms.c"
#include "series.c"
#include "walk.c"

#define HYB_N_CONTEXT     12
#define HYB_BANDIT_N      (HYB_N_CONTEXT * HYB_N_WAYS + HYB_N_ARMS - 1) /* weights; those of "off" do not exist */
#define HYB_BANDIT_OLD    0.99  /* of what was learnt, what stays after another reward */
#define HYB_BANDIT_IDLE   0.998 /* and after a decision for "off" */
#define HYB_BANDIT_HOPE   0.2   /* probability of a gain: an arm that has less is not tried */
#define HYB_BANDIT_NOISE  0.1   /* deviation of a reward, as long as it is not known */
#define HYB_BANDIT_TRUST  4.0   /* rewards that this is worth */
#define HYB_BANDIT_MOST   1.0   /* rewards are cut off there */
#define HYB_BANDIT_STREAM 0x62616E64u
#define HYB_PACKED(i, j)  ((i) * ((i) + 1) / 2 + (j)) /* lower triangle, j <= i */

typedef struct hyb_bandit {
    double gram[HYB_PACKED(HYB_BANDIT_N, 0)]; /* sum of phi phi^T */
    double sums[HYB_BANDIT_N];                /* sum of phi reward */
    double prior[HYB_BANDIT_N], precision[HYB_BANDIT_N];
    double n, squares; /* rewards, and squares of what was unexpected of them */
    uint64_t seed;
    int64_t n_decisions;
    int64_t n_tries[HYB_N_ARMS];
} hyb_bandit;

typedef struct hyb_choice {
    int32_t arm;
    double mean, deviation; /* of its reward, as it is expected; of "off" 0 */
    double p_gain;          /* that it is more than 0 */
} hyb_choice;

/* The weights of an arm begin where? `way` and `arm` from 1. */
#define HYB_BANDIT_WAY(way) (HYB_N_CONTEXT * (int)(way))
#define HYB_BANDIT_ARM(arm) (HYB_N_CONTEXT * HYB_N_WAYS + (int)(arm)-1)

/* What is thought of an arm beforehand: by how much its reward differs from that of its way. */
static void hyb_bandit_prior(hyb_bandit *b, int arm, double mean, double deviation)
{
    if (arm <= HYB_ARM_OFF || arm >= HYB_N_ARMS || !hyb_is_finite(mean) || !(deviation > 0)) return;
    b->prior[HYB_BANDIT_ARM(arm)] = mean;
    b->precision[HYB_BANDIT_ARM(arm)] = 1 / (deviation * deviation);
}

static void hyb_bandit_init(hyb_bandit *b, uint64_t seed)
{
    int i;
    memset(b, 0, sizeof *b);
    b->seed = seed;
    for (i = 0; i < HYB_BANDIT_N; i++) {
        const bool first = i < HYB_N_CONTEXT * HYB_N_WAYS && i % HYB_N_CONTEXT == 0;
        const double deviation = first ? (i == 0 ? 0.05 : 0.02) : 0.01;
        b->precision[i] = 1 / (deviation * deviation);
    }
}

/* The 12 of the 64 features (predict/features.c) that it looks at: 1, how the loss falls and how noisy it is, gradient,
 * how straight and how predictable the way of the weights is, rate, budget, surprise. */
static void hyb_bandit_context(const float *features, double x[HYB_N_CONTEXT])
{
    static const unsigned char chosen[HYB_N_CONTEXT] = { 63, 2, 6, 3, 13, 16, 28, 30, 32, 43, 45, 61 };
    int i;
    for (i = 0; i < HYB_N_CONTEXT; i++) x[i] = hyb_clamp((double)features[chosen[i]], -3.0, 3.0);
}

/* The row of an arm. */
static void hyb_bandit_row(int arm, const double x[HYB_N_CONTEXT], double phi[HYB_BANDIT_N])
{
    const int way = HYB_BANDIT_WAY(hyb_arms[arm].way);
    int i;
    memset(phi, 0, HYB_BANDIT_N * sizeof *phi);
    for (i = 0; i < HYB_N_CONTEXT; i++) phi[i] = phi[way + i] = hyb_clamp(x[i], -10.0, 10.0);
    phi[HYB_BANDIT_ARM(arm)] = 1;
}

static double hyb_bandit_variance(const hyb_bandit *b)
{
    const double first = HYB_BANDIT_NOISE * HYB_BANDIT_NOISE;
    return HYB_MAX((HYB_BANDIT_TRUST * first + b->squares) / (HYB_BANDIT_TRUST + b->n), 1e-8);
}

/* What is thought of the weights: their precision is l l^T. */
typedef struct hyb_belief {
    double l[HYB_PACKED(HYB_BANDIT_N, 0)], mean[HYB_BANDIT_N];
} hyb_belief;

/* x of l x = y, in place */
static void hyb_belief_forward(const hyb_belief *t, double *y)
{
    int i, j;
    for (i = 0; i < HYB_BANDIT_N; i++) {
        const double *row = t->l + HYB_PACKED(i, 0);
        for (j = 0; j < i; j++) y[i] -= row[j] * y[j];
        y[i] /= row[i];
    }
}

/* x of l^T x = y, in place */
static void hyb_belief_back(const hyb_belief *t, double *y)
{
    int i, j;
    for (i = HYB_BANDIT_N - 1; i >= 0; i--) {
        const double *row = t->l + HYB_PACKED(i, 0);
        y[i] /= row[i];
        for (j = 0; j < i; j++) y[j] -= row[j] * y[i];
    }
}

/* The matrix has the prior's precision on its diagonal: Cholesky's factorization always exists. */
static void hyb_bandit_believe(const hyb_bandit *b, hyb_belief *t)
{
    const double weight = 1 / hyb_bandit_variance(b);
    int i, j, k;
    for (i = 0; i < HYB_BANDIT_N; i++) {
        double *row = t->l + HYB_PACKED(i, 0);
        for (j = 0; j <= i; j++) {
            const double *other = t->l + HYB_PACKED(j, 0);
            double sum = weight * b->gram[HYB_PACKED(i, j)] + (i == j ? b->precision[i] : 0);
            for (k = 0; k < j; k++) sum -= row[k] * other[k];
            row[j] = i == j ? sqrt(HYB_MAX(sum, 1e-12)) : sum / other[j];
        }
        t->mean[i] = weight * b->sums[i] + b->precision[i] * b->prior[i];
    }
    hyb_belief_forward(t, t->mean);
    hyb_belief_back(t, t->mean);
}

static double hyb_bandit_dot(const double *a, const double *b)
{
    double sum = 0;
    int i;
    for (i = 0; i < HYB_BANDIT_N; i++) sum += a[i] * b[i];
    return sum;
}

/* Variance of an arm's expected reward. It changes phi. */
static double hyb_belief_variance(const hyb_belief *t, double *phi)
{
    hyb_belief_forward(t, phi);
    return hyb_bandit_dot(phi, phi);
}

/* Weights as they may be. */
static void hyb_bandit_draw(const hyb_bandit *b, const hyb_belief *t, double *weights)
{
    int i;
    for (i = 0; i < HYB_BANDIT_N; i++) {
        const uint64_t counter = ((uint64_t)b->n_decisions * HYB_BANDIT_N + (uint64_t)i) * 2;
        const double r = 1 - hyb_random_uniform(b->seed, HYB_BANDIT_STREAM, counter);
        const double turn = hyb_random_uniform(b->seed, HYB_BANDIT_STREAM, counter + 1);
        weights[i] = sqrt(-2 * log(r)) * cos(6.283185307179586 * turn);
    }
    hyb_belief_back(t, weights);
    for (i = 0; i < HYB_BANDIT_N; i++) weights[i] += t->mean[i];
}

/* legal: a bit for each arm that may be taken. */
static hyb_choice hyb_bandit_choose(hyb_bandit *b, const double x[HYB_N_CONTEXT], uint32_t legal)
{
    hyb_belief belief;
    double weights[HYB_BANDIT_N], phi[HYB_BANDIT_N], best = 0;
    hyb_choice choice;
    int arm;
    memset(&choice, 0, sizeof choice);
    hyb_bandit_believe(b, &belief);
    hyb_bandit_draw(b, &belief, weights);
    for (arm = HYB_ARM_OFF + 1; arm < HYB_N_ARMS; arm++) {
        double score, mean, deviation, p_gain;
        if (!(legal >> arm & 1)) continue;
        hyb_bandit_row(arm, x, phi);
        score = hyb_bandit_dot(phi, weights);
        mean = hyb_bandit_dot(phi, belief.mean);
        deviation = sqrt(hyb_belief_variance(&belief, phi));
        p_gain = 0.5 * erfc(-mean / (deviation * 1.4142135623730951));
        if (!(score > best) || p_gain < HYB_BANDIT_HOPE) continue;
        best = score;
        choice.arm = arm;
        choice.mean = mean;
        choice.deviation = deviation;
        choice.p_gain = p_gain;
    }
    b->n_decisions++;
    b->n_tries[choice.arm]++;
    return choice;
}

static void hyb_bandit_fade(hyb_bandit *b, double stays)
{
    int i;
    for (i = 0; i < (int)HYB_COUNT(b->gram); i++) b->gram[i] *= stays;
    for (i = 0; i < HYB_BANDIT_N; i++) b->sums[i] *= stays;
    b->n *= stays;
    b->squares *= stays;
}

/* What an arm brought that was chosen when the run was at x. After "off" only time has gone by. */
static void hyb_bandit_reward(hyb_bandit *b, int arm, const double x[HYB_N_CONTEXT], double reward)
{
    hyb_belief belief;
    double phi[HYB_BANDIT_N], row[HYB_BANDIT_N], off;
    int i, j;
    if (arm < 0 || arm >= HYB_N_ARMS || !hyb_is_finite(reward)) return;
    hyb_bandit_fade(b, arm == HYB_ARM_OFF ? HYB_BANDIT_IDLE : HYB_BANDIT_OLD);
    if (arm == HYB_ARM_OFF) return;
    reward = hyb_clamp(reward, -HYB_BANDIT_MOST, HYB_BANDIT_MOST);
    hyb_bandit_row(arm, x, phi);
    hyb_bandit_believe(b, &belief);
    off = reward - hyb_bandit_dot(phi, belief.mean);
    memcpy(row, phi, sizeof row);
    b->squares += off * off / (1 + hyb_belief_variance(&belief, row) / hyb_bandit_variance(b));
    b->n++;
    for (i = 0; i < HYB_BANDIT_N; i++) {
        if (phi[i] == 0) continue;
        for (j = 0; j <= i; j++) b->gram[HYB_PACKED(i, j)] += phi[i] * phi[j];
        b->sums[i] += reward * phi[i];
    }
}

static void hyb_bandit_walk(hyb_bandit *b, hyb_byte_walk *w)
{
    hyb_walk_same(w, HYB_BANDIT_N);
    HYB_WALK(w, *b);
    if (w->reads && b->n_decisions < 0) w->failed = true;
}
#endif
