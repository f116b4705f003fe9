/* predict/world: an ensemble of small recurrent world models that watches a run (docs: member.c, heads.c, replay.c).
 *
 *     hyb_world_create(rt, seed, n_members, &world, &error);
 *     at the end of each window:
 *         hyb_world_tick(world, features, loss, law, ahead);      what was seen
 *         hyb_world_know(world, tick, &label);                    what has become known of earlier ticks
 *         hyb_world_learn(world);                                 one step of Adam for each member (world_learn.c)
 *         hyb_world_foresee(world, actions, n, cost, forecasts);  up to 16 actions for the next window (foresee.c)
 *         hyb_world_act(world, action);                           the one that was chosen; without it: zeros
 *     hyb_world_break(world)      the run was rolled back: what follows does not follow from what was
 *     hyb_world_walk(world, &w)   into a checkpoint, or out of one
 *
 * The state of a member is a function of its weights and the last 16 ticks, from zeros: it is computed when a forecast
 * is asked for. So members are asked exactly what they were taught (windows of 16 from zeros), a state never belongs to
 * weights that have gone, and a checkpoint needs none. What is older than 16 windows is in the features.
 *
 * All memory is one block, from hyb_world_create on. Members are shared out over the lanes of the runtime, each with
 * its own workspace; no result depends on how many there are. One thread at a time. */
#ifndef HYB_PREDICT_WORLD_C
#define HYB_PREDICT_WORLD_C
#include "../core/memory.c"
#include "replay.c"
#include "trust.c"
#include "../compute/cpu/rssm/members.c"
#include "walk.c"

enum {
    HYB_WORLD_MEMBERS = 5,      /* what is used; up to */
    HYB_WORLD_MEMBERS_MOST = 16 /* are possible */
};

typedef struct hyb_world_device hyb_world_device; /* world_device.c */

typedef struct hyb_world {
    hybrid_runtime *rt;
    uint64_t seed;
    int n_members, n_spaces; /* a space: what one member works in */
    hyb_replay replay;
    int64_t n_learned;        /* steps of Adam */
    double beta1_n, beta2_n;  /* beta^n_learned, as the product (the C library's pow differs from machine to machine) */
    bool stale;               /* the states below are of other ticks or weights */
    float *weights, *m, *v;   /* (n_members, HYB_MEMBER_ROOM) */
    hyb_trust *trusts;        /* (n_members) */
    float *states;            /* (n_members, HYB_WORLD_UNITS): before the newest tick */
    float *outputs;           /* (n_members, HYB_HEADS + 1, HYB_PANEL_WINDOWS): of hyb_world_foresee */
    float *gradients;         /* (n_spaces, HYB_MEMBER_ROOM) */
    hyb_rollout *spaces;      /* (n_spaces) */
    hyb_heads_labels *labels; /* (HYB_PANEL_ROW): of the columns of a step; all members have the same */
    float *inputs;            /* (HYB_WORLD_INPUTS + 1, HYB_PANEL_ROW): of a step: x, and the misses */
    unsigned char *counted;   /* (HYB_PANEL_ROW): 0: the tick is not part of its window */
    int64_t first[HYB_PANEL_WINDOWS]; /* where the windows of a step begin */
    hyb_world_loss *taught, *held;    /* (n_members): of the last step, of ticks that were taught and held back */
    hyb_world_device *on;             /* where members learn; NULL: on the host */
} hyb_world;

/* What has become known of a tick. */
typedef struct hyb_world_label {
    bool has_delta, has_gain, has_verdict;
    float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS]; /* c*: least squares of the next d on d, b, r of that tick */
    float gram[HYB_DELTA_GROUPS][HYB_DELTA_GRAM];    /* dd, db, dr, bb, br, rr of the group, in any one unit */
    float gain;                                      /* true steps */
    bool ok;                                         /* the loss after Correct lay within the band */
} hyb_world_label;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static int hyb_world_spaces(const hybrid_runtime *rt, int n_members) { return HYB_MIN(hyb_lanes(rt), n_members); }

/* Lays the world out in its block (NULL: only counts); returns the bytes. */
static size_t hyb_world_layout(hyb_world *w, unsigned char *block, int n_members, int n_spaces)
{
    const size_t members = (size_t)n_members, spaces = (size_t)n_spaces, f = sizeof(float);
    size_t at = hyb_align(sizeof *w, 64);
#define HYB_PLACE(name, type, bytes) \
    if (block) w->name = (type *)(void *)(block + at); \
    at += hyb_align(bytes, 64)
    HYB_PLACE(weights, float, f *members *HYB_MEMBER_ROOM);
    HYB_PLACE(m, float, f *members *HYB_MEMBER_ROOM);
    HYB_PLACE(v, float, f *members *HYB_MEMBER_ROOM);
    HYB_PLACE(trusts, hyb_trust, members * sizeof(hyb_trust));
    HYB_PLACE(states, float, f *members *HYB_WORLD_UNITS);
    HYB_PLACE(outputs, float, f *members *(HYB_HEADS + 1) * HYB_PANEL_WINDOWS);
    HYB_PLACE(gradients, float, f *spaces *HYB_MEMBER_ROOM);
    HYB_PLACE(spaces, hyb_rollout, spaces * sizeof(hyb_rollout));
    HYB_PLACE(labels, hyb_heads_labels, HYB_PANEL_ROW * sizeof(hyb_heads_labels));
    HYB_PLACE(inputs, float, f *(HYB_WORLD_INPUTS + 1) * HYB_PANEL_ROW);
    HYB_PLACE(counted, unsigned char, HYB_PANEL_ROW);
    HYB_PLACE(taught, hyb_world_loss, members * sizeof(hyb_world_loss));
    HYB_PLACE(held, hyb_world_loss, members * sizeof(hyb_world_loss));
    HYB_PLACE(replay.ticks, hyb_replay_tick, HYB_REPLAY_TICKS * sizeof(hyb_replay_tick));
#undef HYB_PLACE
    return at;
}

/* Bytes of a space's panels, and of a lane's scratch. */
static size_t hyb_world_space_bytes(void)
{
    return sizeof(float) * hyb_align((size_t)HYB_ROLLOUT_FLOATS + HYB_PRODUCT_SCRATCH, 16);
}

/* Bytes that hyb_world_create allocates, to the byte. */
static size_t hyb_world_bytes(const hybrid_runtime *rt, int n_members)
{
    const int spaces = hyb_world_spaces(rt, n_members);
    return hyb_world_layout(NULL, NULL, n_members, spaces) + (size_t)spaces * hyb_world_space_bytes() +
           HYB_ALIGNED_EXTRA;
}

/* As if nothing had been seen yet. */
static void hyb_world_begin(hyb_world *w)
{
    const size_t floats = (size_t)w->n_members * HYB_MEMBER_ROOM;
    hyb_replay_tick *ticks = w->replay.ticks;
    int i;
    memset(w->weights, 0, sizeof *w->weights * floats);
    memset(w->m, 0, sizeof *w->m * floats);
    memset(w->v, 0, sizeof *w->v * floats);
    memset(w->trusts, 0, sizeof *w->trusts * (size_t)w->n_members);
    memset(&w->replay, 0, sizeof w->replay);
    memset(ticks, 0, sizeof *ticks * HYB_REPLAY_TICKS);
    w->replay.ticks = ticks;
    w->n_learned = 0;
    w->beta1_n = w->beta2_n = 1;
    w->stale = true;
    for (i = 0; i < w->n_members; i++) hyb_member_init(w->weights + (size_t)i * HYB_MEMBER_ROOM, w->seed, i);
}

/* kernels: those of the runtime's instruction set (a test that is linked with the library says where they are). */
static hybrid_result hyb_world_make(hybrid_runtime *rt, const hyb_cpu_kernels *kernels, uint64_t seed, int n_members,
                                    hyb_world **world, hybrid_error *error)
{
    const int spaces = hyb_world_spaces(rt, n_members);
    const size_t bytes = hyb_world_bytes(rt, n_members) - HYB_ALIGNED_EXTRA;
    unsigned char *block;
    hyb_world *w;
    int i;
    if (n_members < 1 || n_members > HYB_WORLD_MEMBERS_MOST)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a predictor of %d members: it must have 1 to %d", n_members,
                        HYB_WORLD_MEMBERS_MOST);
    if (!(block = (unsigned char *)hyb_alloc_aligned(rt, bytes))) return hyb_fail_memory(error, bytes);
    memset(block, 0, bytes);
    w = (hyb_world *)(void *)block;
    block += hyb_world_layout(w, block, n_members, spaces);
    w->rt = rt;
    w->seed = seed;
    w->n_members = n_members;
    w->n_spaces = spaces;
    for (i = 0; i < spaces; i++) {
        float *panels = (float *)(void *)(block + (size_t)i * hyb_world_space_bytes());
        hyb_rollout_init(&w->spaces[i], kernels, panels, panels + HYB_ROLLOUT_FLOATS);
    }
    hyb_world_begin(w);
    *world = w;
    return HYBRID_OK;
}

static hybrid_result hyb_world_create(hybrid_runtime *rt, uint64_t seed, int n_members, hyb_world **world,
                                      hybrid_error *error)
{
    return hyb_world_make(rt, hyb_cpu_kernels_for(rt->isa), seed, n_members, world, error);
}

/* ---- what is seen ------------------------------------------------------------------------------------------------ */

/* The number of the newest tick; -1: there is none. */
static int64_t hyb_world_now(const hyb_world *w) { return w->replay.n - 1; }

/* The end of a window. loss: its log loss, law: what the law of the loss says of it, ahead: and of the ticks +1, +2,
 * +4, +8. NaN: not known. */
static void hyb_world_tick(hyb_world *w, const float features[HYB_WORLD_FEATURES], float loss, float law,
                           const float ahead[HYB_HORIZONS])
{
    hyb_replay_add(&w->replay, features, loss, law, ahead);
    w->stale = true;
}

/* The action for the window that follows the newest tick. */
static void hyb_world_act(hyb_world *w, const float action[HYB_WORLD_ACTION])
{
    int i;
    if (!w->replay.n) return;
    for (i = 0; i < HYB_WORLD_ACTION; i++)
        hyb_replay_at(&w->replay, w->replay.n - 1)->x[HYB_WORLD_FEATURES + i] = hyb_replay_input(action[i]);
}

/* What follows does not follow from what was: no window and no label reaches over this point. */
static void hyb_world_break(hyb_world *w)
{
    w->replay.episode++;
    w->stale = true;
}

/* The Gram matrices as weights: |d|^2 over all groups is 1. False: they are not those of anything. */
static bool hyb_world_gram(const hyb_world_label *label, hyb_replay_tick *tick)
{
    double whole = 0;
    int g, i;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) whole += label->gram[g][0];
    if (!(whole > 0) || !hyb_finite((float)whole)) return false;
    for (g = 0; g < HYB_DELTA_GROUPS; g++) {
        for (i = 0; i < HYB_DELTA_GRAM; i++) {
            tick->gram[g][i] = (float)(label->gram[g][i] / whole);
            if (!hyb_finite(tick->gram[g][i])) return false;
        }
        for (i = 0; i < HYB_DELTA_DIRECTIONS; i++) {
            tick->c[g][i] = label->c[g][i];
            if (!hyb_finite(tick->c[g][i])) return false;
        }
    }
    return true;
}

/* What has become known of a tick, one thing or several, at any time; nothing is done if it has been forgotten, and a
 * label that is not finite is left out. */
static void hyb_world_know(hyb_world *w, int64_t tick, const hyb_world_label *label)
{
    hyb_replay_tick *t;
    if (tick < hyb_replay_first(&w->replay) || tick >= w->replay.n) return;
    t = hyb_replay_at(&w->replay, tick);
    if (label->has_delta) {
        t->known &= ~(uint32_t)HYB_REPLAY_DELTA;
        if (hyb_world_gram(label, t)) t->known |= HYB_REPLAY_DELTA;
    }
    if (label->has_gain && hyb_finite(label->gain)) {
        t->gain = label->gain;
        t->known |= HYB_REPLAY_GAIN;
    }
    if (label->has_verdict) {
        t->known &= ~(uint32_t)HYB_REPLAY_OK;
        t->known |= HYB_REPLAY_VERDICT | (label->ok ? (uint32_t)HYB_REPLAY_OK : 0);
    }
}

/* ---- checkpoint -------------------------------------------------------------------------------------------------- */

/* All that a result depends on. What was being read is nothing to go on with if the walk has failed, but it can be. */
static void hyb_world_walk(hyb_world *w, hyb_byte_walk *walk)
{
    const size_t floats = sizeof(float) * (size_t)w->n_members * HYB_MEMBER_ROOM;
    const int64_t most = INT64_MAX / 4096; /* nothing counts so far, and sums of these do not overflow */
    hyb_replay *r = &w->replay;
    int64_t t;
    hyb_walk_same(walk, HYB_MEMBER_SIZE);
    hyb_walk_same(walk, w->n_members);
    hyb_walk_same(walk, (int64_t)sizeof(hyb_replay_tick));
    HYB_WALK(walk, w->seed);
    HYB_WALK(walk, w->n_learned);
    HYB_WALK(walk, w->beta1_n);
    HYB_WALK(walk, w->beta2_n);
    hyb_walk_bytes(walk, w->weights, floats);
    hyb_walk_bytes(walk, w->m, floats);
    hyb_walk_bytes(walk, w->v, floats);
    hyb_walk_bytes(walk, w->trusts, sizeof(hyb_trust) * (size_t)w->n_members);
    HYB_WALK(walk, r->n);
    HYB_WALK(walk, r->square);
    HYB_WALK(walk, r->n_squares);
    HYB_WALK(walk, r->episode);
    if (r->n < 0 || r->n > most || r->n_squares < 0 || r->n_squares > most || w->n_learned < 0 || w->n_learned > most ||
        r->episode < 0 || r->episode == INT32_MAX) {
        walk->failed = true;
        r->n = r->n_squares = w->n_learned = r->episode = 0;
    }
    for (t = hyb_replay_first(r); t < r->n && !walk->failed; t++)
        hyb_walk_bytes(walk, hyb_replay_at(r, t), sizeof(hyb_replay_tick));
    w->stale = true;
}
#endif
