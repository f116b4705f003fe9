/* predict/world_learn: one step of learning of all members, on the host or on a GPU (world_device.c). */
#ifndef HYB_PREDICT_WORLD_LEARN_C
#define HYB_PREDICT_WORLD_LEARN_C
#include "world_device.c"

/* The members of one space, one after the other. */
static void hyb_members_space(void *arg, int space, int lane)
{
    hyb_world *w = (hyb_world *)arg;
    hyb_rollout *s = &w->spaces[space];
    float *d = w->gradients + (size_t)space * HYB_MEMBER_ROOM;
    int member;
    HYB_UNUSED(lane);
    for (member = space; member < w->n_members; member += w->n_spaces)
        if (hyb_members_gradients(w, member, s, d)) hyb_members_adam(w, member, s->lane.kernels, d);
}

/* One step of each member. False: there is nothing to learn from yet. */
static bool hyb_world_learn(hyb_world *w)
{
    if (w->replay.n < 2) return false;
    hyb_replay_draw(&w->replay, w->seed, w->n_learned, w->first);
    hyb_members_fill(w, hyb_replay_window(&w->replay));
    w->beta1_n *= HYB_MEMBERS_BETA1;
    w->beta2_n *= HYB_MEMBERS_BETA2;
    if (!hyb_world_device_learn(w)) hyb_parallel(w->rt, w->n_spaces, hyb_members_space, w);
    w->n_learned++;
    w->stale = true;
    return true;
}
#endif
