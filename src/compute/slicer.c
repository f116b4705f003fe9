/* compute/slicer: a back end that does the ops of a call as long as there is time, and the next ones when the call is
 * made again: a call that makes ops in the same order every time can be left between any two of them.
 *
 *     call, first time       op 0   op 1   op 2   (late)  op 3   op 4        done 3
 *     the same once more      -      -      -             op 3   op 4        done: all of them were
 *
 * It stands before the back end that computes, whose results are what they would be without it. */
#ifndef HYB_COMPUTE_SLICER_C
#define HYB_COMPUTE_SLICER_C
#include "call.c"

#ifndef HYBRID_NO_TRAIN

enum { HYB_SLICER_KINDS = 32, HYB_SLICER_OPS = 32 };

typedef struct hyb_slicer {
    hyb_backend be;    /* which models call */
    hyb_backend *real; /* which computes */
    uint64_t until;    /* microseconds of hyb_now_us; UINT64_MAX: there is no end */
    bool began;        /* something was done in this slice: however short it is, it does one op */
    bool late;         /* an op was left out: the call is not done */
    int kind;          /* of the call: those of a kind take about as long */
    int seen, done;    /* ops of the call */
    uint64_t since;    /* of the op that runs */
    uint32_t took[HYB_SLICER_KINDS][HYB_SLICER_OPS]; /* microseconds of an op when it ran last */
} hyb_slicer;

/* Whether the next op of the call is run now: it was not yet, and there is time for it. */
static bool hyb_slicer_begin(hyb_slicer *c)
{
    const int i = c->seen++;
    if (i < c->done || c->late) return false;
    if (c->until != UINT64_MAX) {
        c->since = hyb_now_us();
        c->late = c->began && c->since + (i < HYB_SLICER_OPS ? c->took[c->kind][i] : 0) >= c->until;
        if (c->late) return false;
    }
    c->began = true;
    return true;
}

static void hyb_slicer_end(hyb_slicer *c)
{
    if (c->until != UINT64_MAX) c->real->ops->sync(c->real, NULL); /* a GPU works on while the host goes on */
    if (c->until != UINT64_MAX && c->done < HYB_SLICER_OPS)
        c->took[c->kind][c->done] = (uint32_t)HYB_MIN(hyb_now_us() - c->since, (uint64_t)UINT32_MAX);
    c->done++;
}

    #define HYB_OP(name_) \
        static void hyb_slicer_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
        { \
            hyb_slicer *c = (hyb_slicer *)be; \
            if (!hyb_slicer_begin(c)) return; \
            hyb_do_##name_(c->real, op); \
            hyb_slicer_end(c); \
        }
    #define HYB_PARTS(name_) \
        static bool hyb_slicer_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
        { \
            hyb_slicer *c = (hyb_slicer *)be; \
            if (!c->real->ops->name_) return false; /* its parts come here one by one */ \
            if (!hyb_slicer_begin(c)) return true; \
            hyb_do_##name_(c->real, op); \
            hyb_slicer_end(c); \
            return true; \
        }
HYB_OPS(HYB_OP, HYB_PARTS)
HYB_TRAIN_OPS(HYB_OP)
    #undef HYB_OP
    #undef HYB_PARTS

static void hyb_slicer_copy(hyb_backend *be, void *dst, const void *src, size_t bytes)
{
    hyb_slicer *c = (hyb_slicer *)be;
    if (!hyb_slicer_begin(c)) return;
    c->real->ops->copy(c->real, dst, src, bytes);
    hyb_slicer_end(c);
}
static void hyb_slicer_zero(hyb_backend *be, void *dst, size_t bytes)
{
    hyb_slicer *c = (hyb_slicer *)be;
    if (!hyb_slicer_begin(c)) return;
    c->real->ops->zero(c->real, dst, bytes);
    hyb_slicer_end(c);
}
/* What follows may be done again. */
static void hyb_slicer_batch(hyb_backend *be, const hyb_batch *batch)
{
    hyb_slicer *c = (hyb_slicer *)be;
    be->batch = batch;
    c->real->ops->begin(c->real, batch);
}
static void hyb_slicer_write(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    ((hyb_slicer *)be)->real->ops->write(((hyb_slicer *)be)->real, dst, host, bytes);
}
static void hyb_slicer_read(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    ((hyb_slicer *)be)->real->ops->read(((hyb_slicer *)be)->real, host, src, bytes);
}
static void hyb_slicer_rehearse(hyb_backend *be, bool on)
{
    ((hyb_slicer *)be)->real->ops->rehearse(((hyb_slicer *)be)->real, on);
}
static hybrid_result hyb_slicer_sync(hyb_backend *be, hybrid_error *error)
{
    return ((hyb_slicer *)be)->real->ops->sync(((hyb_slicer *)be)->real, error);
}
static void *hyb_slicer_stream(hyb_backend *be)
{
    return ((hyb_slicer *)be)->real->ops->stream(((hyb_slicer *)be)->real);
}
/* Copies beside the ops are not cut: what moves states is one piece of a step. */
static hybrid_result hyb_slicer_lanes(hyb_backend *be, hybrid_error *error)
{
    return ((hyb_slicer *)be)->real->ops->lanes(((hyb_slicer *)be)->real, error);
}
static void hyb_slicer_upload(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    ((hyb_slicer *)be)->real->ops->upload(((hyb_slicer *)be)->real, dst, host, bytes);
}
static void hyb_slicer_download(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    ((hyb_slicer *)be)->real->ops->download(((hyb_slicer *)be)->real, host, src, bytes);
}
static void hyb_slicer_await(hyb_backend *be, hyb_lane lane, hyb_lane other)
{
    ((hyb_slicer *)be)->real->ops->await(((hyb_slicer *)be)->real, lane, other);
}
/* A pass that is cut is not recorded. */
static hyb_pass hyb_slicer_pass_begin(hyb_backend *be)
{
    HYB_UNUSED(be);
    return HYB_PASS_RUN;
}
static bool hyb_slicer_pass_end(hyb_backend *be)
{
    HYB_UNUSED(be);
    return true;
}
/* It is a field of its owner, and only the back end that computes is destroyed. */
static void hyb_slicer_destroy(hyb_backend *be)
{
    hyb_slicer *c = (hyb_slicer *)be;
    if (c->real) c->real->ops->destroy(c->real);
    c->real = NULL;
}

static void hyb_slicer_init(hyb_slicer *c, hyb_backend *real)
{
    /* clang-format off */
    static const hyb_backend_ops ops = {
        "cut",
    #define HYB_OP(name_) hyb_slicer_##name_,
        HYB_OPS(HYB_OP, HYB_OP)
        hyb_slicer_batch, hyb_slicer_pass_begin, hyb_slicer_pass_end, hyb_slicer_copy, hyb_slicer_zero,
        hyb_slicer_write, hyb_slicer_read, hyb_slicer_rehearse, hyb_slicer_sync, hyb_slicer_stream, hyb_slicer_lanes,
        hyb_slicer_upload, hyb_slicer_download, hyb_slicer_await, hyb_slicer_destroy,
        HYB_TRAIN_OPS(HYB_OP)
    #undef HYB_OP
    };
    /* clang-format on */
    memset(c, 0, sizeof *c);
    c->be.ops = &ops;
    c->be.rt = real->rt;
    c->real = real;
    c->until = UINT64_MAX;
}

/* A slice: ops are done until a time. */
static void hyb_slicer_slice(hyb_slicer *c, uint64_t until)
{
    c->until = until;
    c->began = c->late = false;
}

/* Before a call, the first time and again; and after it: whether all of it was done. */
static void hyb_slicer_enter(hyb_slicer *c, int kind)
{
    c->kind = kind;
    c->seen = 0;
}
static bool hyb_slicer_leave(hyb_slicer *c)
{
    if (c->late) return false;
    c->done = 0;
    return true;
}
#endif
#endif
