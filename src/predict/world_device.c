/* predict/world_device: world models learn on the GPU of a training: one launch makes the gradients of all members.
 *
 *     to the device     weights, inputs, what is drawn, labels, shares, trusts       4.2 MB of five members
 *     rssm              compute/ops/rssm.c
 *     from it           gradients, trusts, losses                                    4.0 MB
 *     on the host       AdamW
 *
 * Weights and moments stay on the host, where forecasts are made and checkpoints are written: on the device Adam would
 * need its moments there, and three times as many bytes would come back. So a world is the same whether it has a device
 * or not, and may lose it at any time: what the device refuses is done on the host, with the same random numbers.
 *
 * The back end is the world's own, with a queue of its own: a failure there does not touch the training, and the host
 * waits for this work alone, once a step of learning, at the end of a window. */
#ifndef HYB_PREDICT_WORLD_DEVICE_C
#define HYB_PREDICT_WORLD_DEVICE_C
#include "../compute/call.c"
#include "members.c"

struct hyb_world_device {
    hyb_device *device;
    hyb_backend *be;
    void *block;    /* on the device: all that the op names */
    hyb_op_rssm op; /* addresses there */
    /* on the host */
    uint32_t (*random)[HYB_LATENT_CHOICES]; /* (n_members, HYB_PANEL_ROW) */
    hyb_share *shares;                      /* (n_members, HYB_PANEL_ROW) */
    hyb_trust *trusts;                      /* (n_members) */
    bool *learns;                           /* (n_members) */
    float *gradients;                       /* (n_members, HYB_MEMBER_ROOM) */
};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static hyb_limits hyb_world_device_limits(void)
{
    hyb_limits limits;
    memset(&limits, 0, sizeof limits);
    limits.n_rows = limits.n_out = limits.n_seq = limits.n_train = 1;
    return limits;
}

/* Places of the op in a block of the device (NULL: only counts); its bytes. */
static size_t hyb_world_device_lay(hyb_op_rssm *op, unsigned char *block, int n_members)
{
    const size_t members = (size_t)n_members;
    unsigned char *piece;
    size_t at = 0;
#define HYB_PLACE(name, type, bytes) \
    piece = block ? block + at : NULL; \
    op->name = (type)(void *)piece; \
    at += hyb_align(bytes, 256)
    HYB_PLACE(weights, const float *, members *HYB_MEMBER_ROOM * sizeof(float));
    HYB_PLACE(x, const float *, (HYB_WORLD_INPUTS + 1) * HYB_PANEL_ROW * sizeof(float));
    HYB_PLACE(random, const uint32_t(*)[HYB_LATENT_CHOICES], members *HYB_PANEL_ROW * sizeof *op->random);
    HYB_PLACE(labels, const hyb_heads_labels *, HYB_PANEL_ROW * sizeof *op->labels);
    HYB_PLACE(shares, const hyb_share *, members *HYB_PANEL_ROW * sizeof *op->shares);
    HYB_PLACE(trusts, hyb_trust *, members * sizeof *op->trusts);
    HYB_PLACE(taught, hyb_world_loss *, members * sizeof *op->taught);
    HYB_PLACE(held, hyb_world_loss *, members * sizeof *op->held);
    HYB_PLACE(gradients, float *, members *HYB_MEMBER_ROOM * sizeof(float));
    HYB_PLACE(work, float *, members *HYB_ROLLOUT_FLOATS * sizeof(float));
#undef HYB_PLACE
    op->n_members = n_members;
    op->windows = HYB_PANEL_WINDOWS;
    return at;
}

/* And of the host's part (block NULL: only counts). */
static size_t hyb_world_device_lay_host(hyb_world_device *on, unsigned char *block, int n_members)
{
    const size_t members = (size_t)n_members;
    size_t at = hyb_align(sizeof *on, 64);
#define HYB_PLACE(name, type, bytes) \
    if (block) on->name = (type)(void *)(block + at); \
    at += hyb_align(bytes, 64)
    HYB_PLACE(random, uint32_t(*)[HYB_LATENT_CHOICES], members * HYB_PANEL_ROW * sizeof *on->random);
    HYB_PLACE(shares, hyb_share *, members * HYB_PANEL_ROW * sizeof *on->shares);
    HYB_PLACE(trusts, hyb_trust *, members * sizeof *on->trusts);
    HYB_PLACE(learns, bool *, members * sizeof *on->learns);
    HYB_PLACE(gradients, float *, members *HYB_MEMBER_ROOM * sizeof(float));
#undef HYB_PLACE
    return at;
}

/* Bytes of the device, and of the host, that hyb_world_attach takes. */
static uint64_t hyb_world_device_bytes(hyb_device *device, int n_members)
{
    const hyb_limits limits = hyb_world_device_limits();
    hyb_op_rssm op;
    const size_t block = hyb_world_device_lay(&op, NULL, n_members);
    return device->ops->cost(device, block) + device->ops->backend_cost(device, &limits) +
           hyb_world_device_lay_host(NULL, NULL, n_members) + HYB_ALIGNED_EXTRA;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void hyb_world_detach(hyb_world *w)
{
    hyb_world_device *on = w->on;
    w->on = NULL;
    if (!on) return;
    if (on->be) on->be->ops->destroy(on->be);
    if (on->block) on->device->ops->free(on->device, on->block);
    hyb_free_aligned(w->rt, on);
}

static void hyb_world_destroy(hyb_world *w)
{
    if (!w) return;
    hyb_world_detach(w);
    hyb_free_aligned(w->rt, w);
}

/* From now on members learn on the device. A failure leaves the world as it was: on the host. */
static hybrid_result hyb_world_attach(hyb_world *w, hyb_device *device, hybrid_error *error)
{
    const hyb_limits limits = hyb_world_device_limits();
    const size_t bytes = hyb_world_device_lay_host(NULL, NULL, w->n_members);
    hyb_op_rssm op;
    hyb_world_device *on;
    hybrid_result r;
    memset(&op, 0, sizeof op);
    if (!(on = (hyb_world_device *)hyb_alloc_aligned(w->rt, bytes))) return hyb_fail_memory(error, bytes);
    memset(on, 0, bytes);
    hyb_world_device_lay_host(on, (unsigned char *)on, w->n_members);
    on->device = device;
    w->on = on;
    r = device->ops->alloc(device, hyb_world_device_lay(&op, NULL, w->n_members), &on->block, error);
    if (!r) r = device->ops->backend_create(device, &limits, &on->be, error);
    if (!r) {
        hyb_world_device_lay(&on->op, (unsigned char *)on->block, w->n_members);
        on->op.ticks = 1;
        on->be->ops->rehearse(on->be, true); /* a kernel that does not compile is known of now */
        hyb_do_rssm(on->be, &on->op);
        on->be->ops->rehearse(on->be, false);
        r = on->be->ops->sync(on->be, error);
    }
    if (r) hyb_world_detach(w);
    return r;
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

static void hyb_world_device_write(const hyb_world *w)
{
    const hyb_world_device *on = w->on;
    const hyb_op_rssm *op = &on->op;
    const size_t members = (size_t)w->n_members;
    hyb_backend *be = on->be;
    be->ops->write(be, on->block, w->weights, members * HYB_MEMBER_ROOM * sizeof *w->weights);
    be->ops->write(be, (void *)(uintptr_t)op->x, w->inputs, (HYB_WORLD_INPUTS + 1) * HYB_PANEL_ROW * sizeof *op->x);
    be->ops->write(be, (void *)(uintptr_t)op->random, on->random, members * HYB_PANEL_ROW * sizeof *on->random);
    be->ops->write(be, (void *)(uintptr_t)op->labels, w->labels, HYB_PANEL_ROW * sizeof *w->labels);
    be->ops->write(be, (void *)(uintptr_t)op->shares, on->shares, members * HYB_PANEL_ROW * sizeof *on->shares);
    be->ops->write(be, op->trusts, on->trusts, members * sizeof *on->trusts);
    be->ops->zero(be, op->taught, members * sizeof *op->taught);
    be->ops->zero(be, op->held, members * sizeof *op->held);
}

/* Waits for what came of it. */
static hybrid_result hyb_world_device_read(hyb_world *w, hybrid_error *error)
{
    const hyb_world_device *on = w->on;
    const size_t members = (size_t)w->n_members;
    hyb_backend *be = on->be;
    be->ops->read(be, on->gradients, on->op.gradients, members * HYB_MEMBER_ROOM * sizeof *on->gradients);
    be->ops->read(be, on->trusts, on->op.trusts, members * sizeof *on->trusts);
    be->ops->read(be, w->taught, on->op.taught, members * sizeof *w->taught);
    be->ops->read(be, w->held, on->op.held, members * sizeof *w->held);
    return be->ops->sync(be, error);
}

static void hyb_world_device_adam_chunk(void *arg, int member, int lane)
{
    hyb_world *w = (hyb_world *)arg;
    const hyb_world_device *on = w->on;
    HYB_UNUSED(lane);
    if (!on->learns[member]) return;
    w->trusts[member] = on->trusts[member];
    hyb_trust_solve(&w->trusts[member], hyb_members_ticks(w));
    hyb_members_adam(w, member, w->spaces[0].lane.kernels, on->gradients + (size_t)member * HYB_MEMBER_ROOM);
}

/* One step of each member. False, with nothing done: the world has no device, or has none any more. */
static bool hyb_world_device_learn(hyb_world *w)
{
    hyb_world_device *on = w->on;
    hybrid_error why;
    int m;
    if (!on) return false;
    on->op.ticks = hyb_replay_window(&w->replay);
    for (m = 0; m < w->n_members; m++) {
        hyb_share *shares = on->shares + m * HYB_PANEL_ROW;
        on->learns[m] = hyb_members_draw(w, m, on->random + m * HYB_PANEL_ROW, shares);
        if (!on->learns[m]) memset(shares, 0, sizeof *shares * HYB_PANEL_ROW); /* no tick counts */
        on->trusts[m] = w->trusts[m];
        hyb_trust_fade(&on->trusts[m]);
    }
    hyb_world_device_write(w);
    hyb_do_rssm(on->be, &on->op);
    if (hyb_world_device_read(w, &why)) {
        hyb_log(w->rt, HYBRID_LOG_WARN, "world models learn on the host from now on: %s", why.message);
        hyb_world_detach(w);
        return false;
    }
    hyb_parallel(w->rt, w->n_members, hyb_world_device_adam_chunk, w);
    return true;
}
#endif
