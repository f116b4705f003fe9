/* predict/members: what each member is shown in a step of learning, and what becomes of its gradients: AdamW. A step
 * takes 16 windows of 16 ticks from the replay; the rate falls from 1e-3 to 3e-4 over 1000 steps; gradients are clipped
 * at a norm of 5, and thrown away if they are not finite.
 *
 * A run has some hundred ticks, and each is seen some hundred times: left alone, members know them by heart. On an AR
 * process whose sign changes without notice (tests/test_predict_world.c; 300 ticks, two members) the negative log
 * likelihood of the next value was then -0.81, that of the best constant law -2.67. So
 *
 *     a fifth of the ticks, in blocks of 8, is held back from each member (another fifth from each of five): its
 *     deviations learn from these alone                                                            -2.73
 *     and so does what its mean is worth (trust.c); errors of 8 ticks ahead fall from 0.0196 to 0.0170
 *     weights decay, those of the deviations more                                                  -2.79 */
#ifndef HYB_PREDICT_MEMBERS_C
#define HYB_PREDICT_MEMBERS_C
#include "world.c"

enum { HYB_MEMBERS_BLOCK = 8, HYB_MEMBERS_FOLDS = 5 }; /* ticks that are held back together, and from how many */
#define HYB_MEMBERS_CLIP  5.0
#define HYB_MEMBERS_DECAY 3.0f   /* of all weights, times the rate */
#define HYB_MEMBERS_CALM  100.0f /* of those of the deviations */
#define HYB_MEMBERS_BETA1 0.9f
#define HYB_MEMBERS_BETA2 0.999f

static double hyb_members_rate(int64_t step) { return 3e-4 + 7e-4 * HYB_MAX(0, 1 - (double)step / 1000); }

/* Floating point operations of a step, all members: whoever trains a tiny model may want fewer steps. */
static double hyb_world_cost(const hyb_world *w)
{
    return 6.0 * HYB_MEMBER_SIZE * HYB_PANEL_WINDOWS * HYB_PANEL_TICKS * w->n_members;
}

/* The columns of a step: inputs, labels, and which ticks are of the episode that their window began in. */
static void hyb_members_fill(hyb_world *w, int ticks)
{
    const int64_t *first = w->first;
    const hyb_replay *r = &w->replay;
    int t, i, j;
    for (i = 0; i < HYB_PANEL_WINDOWS; i++)
        for (t = 0; t < ticks; t++) {
            const hyb_replay_tick *now = hyb_replay_at(r, first[i] + t);
            const int c = t * HYB_PANEL_WINDOWS + i;
            for (j = 0; j < HYB_WORLD_INPUTS; j++) w->inputs[j * HYB_PANEL_ROW + c] = now->x[j];
            w->inputs[HYB_WORLD_INPUTS * HYB_PANEL_ROW + c] = now->miss;
            hyb_replay_labels(r, first[i] + t, &w->labels[c]);
            w->counted[c] = now->episode == hyb_replay_at(r, first[i])->episode;
        }
}

/* Is the tick held back from the member? Of five blocks that follow each other, each is held back from one member of
 * five; which one is drawn. */
static bool hyb_members_held(const hyb_world *w, int member, int64_t tick)
{
    const int64_t block = tick / HYB_MEMBERS_BLOCK;
    uint32_t random[4];
    hyb_world_random(w->seed, HYB_STREAM_HELD, 0, (uint64_t)(block / HYB_MEMBERS_FOLDS), random);
    return (block + random[0] % HYB_MEMBERS_FOLDS) % HYB_MEMBERS_FOLDS == member % HYB_MEMBERS_FOLDS;
}

/* What the ticks are to a member: those taught count 1 together, and so do those held back. False: none is taught. */
static bool hyb_members_shares(const hyb_world *w, int member, const int64_t *first, int ticks, hyb_share *share)
{
    const int n = ticks * HYB_PANEL_WINDOWS;
    double count[3] = { 0, 0, 0 };
    int c;
    for (c = 0; c < n; c++) {
        const int64_t tick = first[c % HYB_PANEL_WINDOWS] + c / HYB_PANEL_WINDOWS;
        share[c].role = !w->counted[c]                      ? HYB_ROLE_NONE
                        : hyb_members_held(w, member, tick) ? HYB_ROLE_HELD
                                                            : HYB_ROLE_TAUGHT;
        count[share[c].role]++;
    }
    for (c = 0; c < n; c++) {
        share[c].weight = (float)(1 / count[share[c].role]);
        share[c].kl = (float)(1 / (count[HYB_ROLE_TAUGHT] + count[HYB_ROLE_HELD]));
    }
    return count[HYB_ROLE_TAUGHT] > 0;
}

/* What a member draws and what ticks are to it: of HYB_PANEL_ROW columns. False: it has nothing to learn from. */
static bool hyb_members_draw(hyb_world *w, int member, uint32_t (*random)[HYB_LATENT_CHOICES], hyb_share *share)
{
    const int ticks = hyb_replay_window(&w->replay);
    int c;
    memset(&w->taught[member], 0, sizeof *w->taught);
    memset(&w->held[member], 0, sizeof *w->held);
    if (!hyb_members_shares(w, member, w->first, ticks, share)) return false;
    for (c = 0; c < ticks * HYB_PANEL_WINDOWS; c++)
        hyb_world_random(w->seed, HYB_STREAM_SAMPLES, member, (uint64_t)w->n_learned * HYB_PANEL_ROW + (uint64_t)c,
                         random[c]);
    return true;
}

/* How many different ticks a trust is of, about. */
static double hyb_members_ticks(const hyb_world *w)
{
    return (double)(w->replay.n - hyb_replay_first(&w->replay)) / HYB_MEMBERS_FOLDS;
}

/* The gradients d (HYB_MEMBER_ROOM) of one member, in its space; false: it has nothing to learn from. */
static bool hyb_members_gradients(hyb_world *w, int member, hyb_rollout *s, float *d)
{
    uint32_t random[HYB_PANEL_ROW][HYB_LATENT_CHOICES];
    hyb_share share[HYB_PANEL_ROW];
    hyb_op_rssm op;
    if (!hyb_members_draw(w, member, random, share)) return false;
    memset(&op, 0, sizeof op);
    op.n_members = 1;
    op.ticks = hyb_replay_window(&w->replay);
    op.windows = HYB_PANEL_WINDOWS;
    op.weights = w->weights + (size_t)member * HYB_MEMBER_ROOM;
    op.x = w->inputs;
    op.random = (const uint32_t(*)[HYB_LATENT_CHOICES])random;
    op.labels = w->labels;
    op.shares = share;
    op.trusts = &w->trusts[member];
    op.taught = &w->taught[member];
    op.held = &w->held[member];
    op.gradients = d;
    hyb_trust_fade(op.trusts);
    hyb_rssm_member(&op, 0, s);
    hyb_trust_solve(op.trusts, hyb_members_ticks(w));
    return true;
}

/* The deviations' weights, but for their biases, are drawn to 0: so a deviation is what it is on the whole, and differs
 * from tick to tick only by a factor of about e^0.5 at most. Freer ones learn by heart what is held back from the mean:
 * 90 % bands then cover 80 %. */
static void hyb_members_calm(float *head, float rate)
{
    const float left = 1.0f - HYB_MEMBERS_CALM * rate;
    int i, j;
    for (i = HYB_HEAD_SIGMA; i < HYB_HEADS; i++)
        for (j = 0; j < HYB_HEAD_COLUMNS; j++)
            if (j != HYB_WORLD_UNITS) head[i * HYB_HEAD_COLUMNS + j] *= left;
}

static void hyb_members_adam(const hyb_world *w, int member, const hyb_cpu_kernels *kernels, const float *d)
{
    const size_t at = (size_t)member * HYB_MEMBER_ROOM;
    hyb_op_adamw op;
    double squares = 0;
    int i;
    for (i = 0; i < HYB_MEMBER_ROOM; i += 4096) {
        float sum;
        kernels->squares(d + i, HYB_MIN(4096, HYB_MEMBER_ROOM - i), &sum);
        squares += sum;
    }
    if (!(squares - squares == 0)) return;
    memset(&op, 0, sizeof op);
    op.w = w->weights + at;
    op.m = w->m + at;
    op.v = w->v + at;
    op.grad = d;
    op.n = HYB_MEMBER_ROOM;
    op.factor = squares > HYB_MEMBERS_CLIP * HYB_MEMBERS_CLIP ? (float)(HYB_MEMBERS_CLIP / sqrt(squares)) : 1.0f;
    op.beta1 = HYB_MEMBERS_BETA1;
    op.beta2 = HYB_MEMBERS_BETA2;
    op.eps = 1e-8f;
    op.c1 = (float)(1 / (1 - w->beta1_n));
    op.c2 = (float)(1 / (1 - w->beta2_n));
    op.rate = (float)hyb_members_rate(w->n_learned);
    op.decay = HYB_MEMBERS_DECAY;
    kernels->adamw(&op, 0, HYB_MEMBER_ROOM);
    hyb_members_calm(op.w + HYB_AT_head, op.rate);
}
#endif
