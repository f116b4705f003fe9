/* predict/upkeep: what phases ask of the trainer between two steps: the number format of products, and where the states
 * of the optimizer are.
 *
 *     format   that of the phase of the step that comes, if it is another one than now
 *     park     steps were predicted: moments are not needed for them, and go to the host's memory. The next true step
 *              brings them back while it computes, before its update
 *
 * Neither changes a bit of a run but by rounding, as the format says. What cannot be done (no memory, max_bytes) is
 * said in the log, and the run goes on as it is. */
#ifndef HYB_PREDICT_UPKEEP_C
#define HYB_PREDICT_UPKEEP_C
#include "state.c"

static void hyb_upkeep_refused(hybrid_predictor *p, const char *what, const hybrid_error *why)
{
    p->now.n_recoveries[HYB_RECOVERY_GO_ON]++;
    hyb_log(p->rt, HYBRID_LOG_WARN, "step %lld: %s: %s; the run goes on as it is", (long long)p->t->step, what,
            why->message);
}

static void hyb_upkeep_format(hybrid_predictor *p)
{
    const hybrid_type type = p->desc.phase_format[p->now.phase];
    hybrid_error why;
    if (!p->desc.formats || type == p->t->format.type) return;
    if (hyb_trainer_set_format(p->t, type, "hybrid_predict_desc.phase_format", &why))
        hyb_upkeep_refused(p, "the number format stays", &why);
    p->disp.be = p->t->objective->cut.real;
}

static void hyb_upkeep_park(hybrid_predictor *p)
{
    hyb_store *store = p->disp.store;
    const uint64_t before = store->moved_down;
    hybrid_error why;
    if (!p->now.predicted) return;
    p->now.predicted = 0;
    if (!p->desc.park) return;
    if (hyb_store_park(store, p->disp.be, &why))
        hyb_upkeep_refused(p, "states of the optimizer stay where they are", &why);
    p->now.n_parked += store->moved_down > before;
    p->now.parked_bytes += (int64_t)(store->moved_down - before);
}

/* A step is done, and the next has not begun. */
static void hyb_predictor_between(hyb_rider *rider)
{
    hybrid_predictor *p = hyb_predictor_of(rider);
    p->disp.be = p->t->objective->cut.real; /* a back end may have been exchanged */
    hyb_upkeep_format(p);
    hyb_upkeep_park(p);
}
#endif
