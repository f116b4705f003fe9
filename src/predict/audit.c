/* predict/audit: what a move is really worth: a trial. From the snapshot before it the run goes on twice over the same
 * batches, with the move and without it, and then from the snapshot again with the move, as if nothing had been:
 *
 *     snapshot -- move --  true steps | the rate falls to 0 | probes at rate 0     l of each probe
 *              \--------   true steps | the rate falls to 0 | probes at rate 0     less l of the same batch
 *              \-- move -- the run
 *
 * A half of a branch are true steps, a quarter falls, a quarter are probes: a loss that is seen at once says nothing of
 * what a move is worth, since noise hides it until the rate is small. What the run does after an audit has the bits of
 * a run without it. The result, in windows, is held against what the judge says of the same move by the next window
 * (loop.c), and corrects what the judge says of all others. Audits are paid for in true steps: at most a share of those
 * that were done. */
#ifndef HYB_PREDICT_AUDIT_C
#define HYB_PREDICT_AUDIT_C
#include "moves.c"
#include "steer.c"

#define HYB_AUDIT_WORTH 2.0 /* windows that one move can be worth, at most */
#define HYB_AUDIT_DOUBT 2.0 /* audits that "the judge is right" counts as */

/* What the rate is multiplied by in step `done` of a branch. */
static double hyb_audit_rate(int64_t done, int64_t steps)
{
    const int64_t whole = steps / 2, falls = steps / 4;
    if (done < whole) return 1;
    return done < whole + falls ? 1 - (double)(done - whole + 1) / (double)(falls + 1) : 0;
}

static void hyb_predictor_audit_rate(hybrid_predictor *p)
{
    const hyb_audit *a = &p->audit;
    hyb_steer_rate(p);
    if (a->open) p->t->rate_factor *= hyb_audit_rate(a->done, p->desc.audit_steps);
}

static void hyb_predictor_branch(hybrid_predictor *p, int64_t which)
{
    p->audit.open = which;
    p->audit.done = 0;
    p->audit.sum = 0;
    hyb_predictor_audit_rate(p);
}

/* What l falls by in a window: by the law, or as it does now. */
static double hyb_predictor_slope(const hybrid_predictor *p, double rate)
{
    const double law = -hyb_law_slope(&p->law, p->law.total) * rate * p->desc.window;
    return HYB_MAX(law > 0 ? law : -p->band.trend * p->desc.window, 1e-5);
}

/* The weights have just been moved, and the snapshot is what they were before: is it this one's turn, and is there time
 * for it? */
static void hyb_predictor_begin_audit(hybrid_predictor *p, double rate)
{
    const hybrid_predict_desc *d = &p->desc;
    hyb_audit *a = &p->audit;
    const double spent = 2.0 * d->audit_steps * (double)(a->n + 1);
    if (!d->audit_every || !p->disp.kept || ++a->since < d->audit_every) return;
    if (spent > (double)d->audit_share * (double)p->t->step || p->t->step + d->audit_steps >= p->t->desc.n_steps)
        return;
    a->since = a->pending = 0;
    a->slope = hyb_predictor_slope(p, rate);
    hyb_predictor_branch(p, HYB_AUDIT_WITH);
}

/* Both branches are over. worth: windows. */
static void hyb_predictor_end_audit(hybrid_predictor *p, double worth)
{
    hyb_audit *a = &p->audit;
    const double steps = worth * p->desc.window;
    a->worth = worth;
    a->pending = 1;
    a->n++;
    a->gained += steps;
    a->squares += steps * steps;
    hyb_log(p->rt, HYBRID_LOG_INFO, "an audit of the move after step %lld: it is worth %.1f steps",
            (long long)p->now.kept_step, steps);
}

/* From the snapshot to the next branch, or on with the run. */
static hybrid_result hyb_predictor_next_branch(hybrid_predictor *p, hybrid_error *error)
{
    const bool ends = p->audit.open == HYB_AUDIT_WITHOUT;
    hybrid_result r = hyb_predictor_restore(p, error);
    if (r) return r;
    hyb_predictor_branch(p, ends ? HYB_AUDIT_NONE : HYB_AUDIT_WITHOUT);
    if (ends) hyb_predictor_make(p, &p->audit.made);
    hyb_predictor_reread(p);
    return HYBRID_OK;
}

/* A step of a branch has its gradients. One that is not finite ends it: with the move, that is taken back for good. */
static hybrid_result hyb_predictor_branch_arrived(hybrid_predictor *p, const hyb_step_seen *seen, bool *again,
                                                  hybrid_error *error)
{
    const bool with = p->audit.open == HYB_AUDIT_WITH;
    if (hyb_is_finite(seen->loss) && hyb_is_finite(seen->grad_norm)) return HYBRID_OK;
    *again = true;
    p->audit.n_steps++;
    if (!with) return hyb_predictor_next_branch(p, error); /* it would have come without the move: nothing is known */
    hyb_predictor_end_audit(p, -HYB_AUDIT_WORTH);
    p->audit.pending = 0;
    hyb_predictor_branch(p, HYB_AUDIT_NONE);
    return hyb_predictor_go_back(p, "an audit found that a move leads to losses that are not finite", 1, 0, error);
}

/* A step of a branch was taken: nothing is learnt from it but what l of the probes is. */
static hybrid_result hyb_predictor_branch_updated(hybrid_predictor *p, const hyb_step_seen *seen,
                                                  hybrid_predict_step *told, hybrid_error *error)
{
    hyb_audit *a = &p->audit;
    const int64_t steps = p->desc.audit_steps, probes = steps / 4, probe = a->done - (steps - probes);
    const double l = hyb_log_loss(seen->loss);
    told->event = HYBRID_PREDICT_AUDITED;
    a->n_steps++;
    hyb_phases_spend(&p->phases, 1);
    if (probe >= 0 && a->open == HYB_AUDIT_WITH) a->loss[probe] = l;
    if (probe >= 0 && a->open == HYB_AUDIT_WITHOUT) a->sum += l - a->loss[probe];
    if (++a->done < steps) {
        hyb_predictor_audit_rate(p);
        return HYBRID_OK;
    }
    told->event = HYBRID_PREDICT_WENT_BACK;
    if (a->open == HYB_AUDIT_WITHOUT)
        hyb_predictor_end_audit(p, hyb_clamp(a->sum / (double)probes / a->slope, -HYB_AUDIT_WORTH, HYB_AUDIT_WORTH));
    return hyb_predictor_next_branch(p, error);
}

/* What the judge says of a move, windows, corrected by what audits have found. */
static double hyb_predictor_audited(hybrid_predictor *p, double reward)
{
    hyb_audit *a = &p->audit;
    if (a->pending) {
        a->pending = 0;
        a->n_judged++;
        a->bias += (a->worth - reward - a->bias) / (double)a->n_judged;
    }
    if (!a->n_judged) return reward;
    return hyb_clamp(reward + a->bias * (double)a->n_judged / ((double)a->n_judged + HYB_AUDIT_DOUBT), -1.0, 1.0);
}
#endif
