/* compute/cpu/pace: sections of chunks that are done as long as there is time. What is left of them is done when the
 * unit of work that they belong to is called again: it must make the same sections in the same order every time, all
 * its work must be in their chunks, and nothing else may touch their memory in between.
 *
 *     a unit, first time     [ 0 1 2 3 ]  [ 0 1 2 3 4 (late) 5 6 7 ]  [ 0 1 ]
 *     the same once more         -                           5 6 7    [ 0 1 ]      done: all sections were
 *
 * The chunks are those of the whole section, so the bits are, too. How long a chunk takes is known from the last time
 * that a unit of its kind was done: no more chunks are begun than there is time for. */
#ifndef HYB_COMPUTE_CPU_PACE_C
#define HYB_COMPUTE_CPU_PACE_C
#include "../../core/runtime.c"

enum { HYB_PACE_KINDS = 24, HYB_PACE_SECTIONS = 24, HYB_PACE_SIZES = 4 };

typedef struct hyb_pace {
    bool is_on;       /* in a unit: else sections are done at once */
    bool began, late; /* something was done in this slice, which does at least that; the unit was left */
    uint64_t until;   /* the end of the slice, microseconds of hyb_now_us; UINT64_MAX: there is none */
    int kind, size;   /* of the unit */
    int seen, done;   /* sections of it */
    int chunk;        /* so many of the next section are done */
    uint32_t cost[HYB_PACE_SIZES][HYB_PACE_KINDS][HYB_PACE_SECTIONS]; /* nanoseconds of a chunk; 0: not known */
} hyb_pace;

typedef struct hyb_pace_part { /* chunks of a section from one on */
    hyb_chunk_fn fn;
    void *arg;
    int from;
} hyb_pace_part;

static void hyb_pace_chunk(void *arg, int chunk, int lane)
{
    const hyb_pace_part *part = (const hyb_pace_part *)arg;
    part->fn(part->arg, part->from + chunk, lane);
}

/* Of the n chunks that a section has left, as many as there is time for; of a cost that is not known, one a lane. */
static int hyb_pace_fit(const hyb_pace *p, uint32_t cost, int n, int lanes, uint64_t now)
{
    const uint64_t left = now < p->until ? p->until - now : 0;
    uint64_t fit = cost ? left * 1000 / cost : left ? (uint64_t)lanes : 0;
    if (fit >= (uint64_t)n) return n;
    fit -= fit % (uint64_t)lanes; /* no lane waits for the others */
    if (!p->began && fit < (uint64_t)lanes) fit = (uint64_t)lanes;
    return (int)HYB_MIN(fit, (uint64_t)n);
}

/* hyb_parallel, or as much of it as there is time for. */
static void hyb_pace_run(hyb_pace *p, hybrid_runtime *rt, int n, hyb_chunk_fn fn, void *arg)
{
    const int lanes = hyb_lanes(rt), i = p->seen;
    uint32_t none = 0, *cost = i < HYB_PACE_SECTIONS ? &p->cost[p->size][p->kind][i] : &none;
    hyb_pace_part part;
    if (p->is_on && (p->seen++ < p->done || p->late)) return;
    if (!p->is_on || (p->until == UINT64_MAX && !p->chunk)) {
        hyb_parallel(rt, n, fn, arg);
        p->done += p->is_on;
        return;
    }
    part.fn = fn;
    part.arg = arg;
    while (p->chunk < n) {
        const uint64_t now = p->until == UINT64_MAX ? 0 : hyb_now_us();
        const int m = p->until == UINT64_MAX ? n - p->chunk : hyb_pace_fit(p, *cost, n - p->chunk, lanes, now);
        if ((p->late = !m) != false) return;
        part.from = p->chunk;
        hyb_parallel(rt, m, hyb_pace_chunk, &part);
        p->chunk += m;
        p->began = true;
        if (now) {
            const uint64_t took = (hyb_now_us() - now) * 1000 / (uint64_t)m;
            *cost =
                (uint32_t)HYB_MIN(HYB_MAX(*cost ? (3 * (uint64_t)*cost + took) / 4 : took, 1), (uint64_t)UINT32_MAX);
        }
    }
    p->chunk = 0;
    p->done++;
}

/* Whether the next n sections are left out, since they are done, or it is too late for them. */
static bool hyb_pace_skip(hyb_pace *p, int n)
{
    if (!p->is_on || (!p->late && p->seen + n > p->done)) return false;
    p->seen += n;
    return true;
}

/* Chunks of the next section that were done in earlier slices. */
static int hyb_pace_chunks(const hyb_pace *p) { return p->is_on && p->seen == p->done ? p->chunk : 0; }

/* Before a unit and after it: whether all of it was done. n_rows: units of other batches take another time. until: the
 * end of the slice. again: the unit is called once more. */
static void hyb_pace_enter(hyb_pace *p, int kind, int n_rows, uint64_t until, bool again)
{
    p->is_on = true;
    p->late = false;
    p->until = until;
    p->kind = kind;
    p->size = n_rows == 1 ? 0 : n_rows <= 8 ? 1 : n_rows <= 32 ? 2 : 3;
    p->seen = 0;
    if (!again) p->done = p->chunk = 0;
}
static bool hyb_pace_leave(hyb_pace *p)
{
    p->is_on = false;
    return !p->late;
}
#endif
