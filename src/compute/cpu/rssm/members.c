/* compute/cpu/rssm/members: a step of learning of members of the world model, one after the other or side by side: no
 * result depends on that. */
#ifndef HYB_COMPUTE_CPU_RSSM_MEMBERS_C
#define HYB_COMPUTE_CPU_RSSM_MEMBERS_C
#include "../job.c"
#include "rollout_back.c"

#ifndef HYBRID_NO_TRAIN

/* Member `member` of the op, in its own panels. */
static void hyb_rssm_member(const hyb_op_rssm *op, int member, hyb_rollout *s)
{
    const float *weights = op->weights + (size_t)member * HYB_MEMBER_ROOM;
    float *d = op->gradients + (size_t)member * HYB_MEMBER_ROOM;
    const size_t row = sizeof(float) * HYB_PANEL_ROW;
    int i;
    s->ticks = op->ticks;
    s->windows = op->windows;
    memcpy(s->x, op->x, row * HYB_WORLD_INPUTS);
    memcpy(s->trunk_act + HYB_MISS_ROW, op->x + HYB_WORLD_INPUTS * HYB_PANEL_ROW, row);
    for (i = 0; i < HYB_WORLD_UNITS; i++) memset(s->h + i * HYB_PANEL_ROW, 0, sizeof(float) * HYB_PANEL_WINDOWS);
    hyb_rollout_states(s, weights, op->random + (size_t)member * HYB_PANEL_ROW);
    hyb_rollout_outputs(s, weights);
    hyb_rollout_loss(s, op->labels, op->shares + (size_t)member * HYB_PANEL_ROW, &op->trusts[member],
                     &op->taught[member], &op->held[member]);
    memset(d, 0, sizeof *d * HYB_MEMBER_ROOM);
    hyb_rollout_back(s, weights, d);
}

static void hyb_cpu_rssm_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_rssm *op = (const hyb_op_rssm *)job->op;
    float *panels = op->work + (size_t)chunk * HYB_ROLLOUT_FLOATS;
    hyb_rollout s;
    memset(panels, 0, sizeof *panels * HYB_ROLLOUT_FLOATS);
    hyb_rollout_init(&s, job->cpu->kernels, panels,
                     (float *)(void *)(job->cpu->scratch + (size_t)lane * job->cpu->train_bytes));
    hyb_rssm_member(op, chunk, &s);
}

/* A product's scratch is part of what a lane has for gradients of attention. */
static void hyb_cpu_rssm(hyb_backend *be, const hyb_op_rssm *op)
{
    hyb_cpu_job job;
    memset(&job, 0, sizeof job);
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    hyb_parallel(be->rt, op->n_members, hyb_cpu_rssm_chunk, &job);
}
#endif
#endif
