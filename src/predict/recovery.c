/* predict/recovery: what can go wrong with a prediction, and what is done about it: two lists. An error has one
 * recovery; a recovery has one executor, a function of the controller's, whose effect can be seen (phase, length,
 * threshold, weights). A recovery without an executor, as a roll-back without a snapshot, or one that fails, gives way
 * to the next stronger one; the last is to abort, which is always there: the caller gets the sentence. */
#ifndef HYB_PREDICT_RECOVERY_C
#define HYB_PREDICT_RECOVERY_C
#include "../core/base.c"

/* clang-format off */
/* X(name, stronger, text): from the mildest to the strongest; stronger: what is done where this one cannot be. */
#define HYB_RECOVERIES(X) \
    X(GO_ON,           ABORT,     "nothing has to be done") \
    X(SKIP_BATCH,      FORCE_FULL,"the batch is left out") \
    X(SHORTEN,         FORCE_FULL,"predictions become shorter") \
    X(RAISE_THRESHOLD, FORCE_FULL,"predictions have to be more certain") \
    X(FORCE_FULL,      ROLL_BACK, "true steps alone for a while") \
    X(RESET_PREDICTOR, FORCE_FULL,"the predictor forgets what it has learnt") \
    X(ROLL_BACK,       ABORT,     "back to the last snapshot") \
    X(ABORT,           ABORT,     "the run ends")

/* X(name, result, recovery, amount, sentence): amount: of the recovery, where the fault does not say another: steps
 * (FORCE_FULL), a factor (SHORTEN), what is added (RAISE_THRESHOLD), a factor of the rate (ROLL_BACK). The sentence has
 * the step, and then one or two numbers: what was found, and against what. */
#define HYB_FAULTS(X) \
    X(DIVERGENCE, NUMERIC, FORCE_FULL, 20, \
      "step %lld: the loss is %g where %g was predicted; true steps follow, or set a shorter horizon") \
    X(UNSTABLE, NUMERIC, ROLL_BACK, 1, \
      "step %lld: a loss or weight is not finite (%g, last %g); lower the rate if it comes again") \
    X(EXPLODES, NUMERIC, ROLL_BACK, 0.5, \
      "step %lld: the gradient has the norm %g, more than %g; lower the rate, or clip gradients") \
    X(VANISHES, NUMERIC, FORCE_FULL, 50, \
      "step %lld: the gradient has the norm %g, less than %g; raise the rate, or look whether anything is trained") \
    X(PREDICTOR, NUMERIC, RESET_PREDICTOR, 0, \
      "step %lld: the predictor's own numbers are not finite (%g, last %g); it begins anew") \
    X(UNCERTAIN, NUMERIC, RAISE_THRESHOLD, 0.05, \
      "step %lld: predictions succeed in %g of all cases and claimed %g; only more certain ones are made") \
    X(OVERLONG, NUMERIC, SHORTEN, 0.5, \
      "step %lld: the error of predictions is %g and was %g over shorter ones; they become shorter") \
    X(TRANSITION, INVALID, FORCE_FULL, 10, \
      "step %lld: phase %g cannot follow phase %g; true steps follow") \
    X(FEATURES, NUMERIC, SKIP_BATCH, 0, \
      "step %lld: the loss of a batch is not finite (%g, last %g); look at that batch") \
    X(MEMORY, MEMORY, ABORT, 0, \
      "step %lld: %g bytes are needed and %g are left; leave prediction off, or give max_bytes more") \
    X(DEVICE, DEVICE, ABORT, 0, \
      "step %lld: the device failed with code %g in call %g; go on from the last checkpoint") \
    X(CHECKPOINT, IO, GO_ON, 0, \
      "step %lld: a checkpoint could not be written (%g of %g bytes); the run goes on, make room on the disk") \
    X(MODEL, INVALID, ABORT, 0, \
      "step %lld: a function of the model that is trained failed (%g, in call %g); look at hybrid_trainable's") \
    X(SETTINGS, INVALID, ABORT, 0, \
      "step %lld: a setting is %g, where at most %g can be; see hybrid_predict_desc")
/* clang-format on */

typedef enum hyb_recovery {
#define HYB_X(name, stronger, text) HYB_RECOVERY_##name,
    HYB_RECOVERIES(HYB_X)
#undef HYB_X
        HYB_RECOVERY_COUNT
} hyb_recovery;

typedef enum hyb_fault_kind {
#define HYB_X(name, result, recovery, amount, sentence) HYB_FAULT_##name,
    HYB_FAULTS(HYB_X)
#undef HYB_X
        HYB_FAULT_COUNT
} hyb_fault_kind;

typedef struct hyb_fault {
    hyb_fault_kind kind;
    int64_t step;
    double found, against; /* the numbers of the sentence */
    double amount;         /* of the recovery; 0: as the list says */
} hyb_fault;

static const char *hyb_fault_name(hyb_fault_kind kind)
{
    switch (kind) {
#define HYB_X(name, result, recovery, amount, sentence) \
case HYB_FAULT_##name: return #name;
        HYB_FAULTS(HYB_X)
#undef HYB_X
    case HYB_FAULT_COUNT: break;
    }
    return "?";
}

static const char *hyb_recovery_text(hyb_recovery recovery)
{
    switch (recovery) {
#define HYB_X(name, stronger, text) \
case HYB_RECOVERY_##name: return text;
        HYB_RECOVERIES(HYB_X)
#undef HYB_X
    case HYB_RECOVERY_COUNT: break;
    }
    return "?";
}

static hyb_recovery hyb_recovery_of(hyb_fault_kind kind)
{
    switch (kind) {
#define HYB_X(name, result, recovery, amount, sentence) \
case HYB_FAULT_##name: return HYB_RECOVERY_##recovery;
        HYB_FAULTS(HYB_X)
#undef HYB_X
    case HYB_FAULT_COUNT: break;
    }
    return HYB_RECOVERY_ABORT;
}

static hyb_recovery hyb_recovery_stronger(hyb_recovery recovery)
{
    switch (recovery) {
#define HYB_X(name, stronger, text) \
case HYB_RECOVERY_##name: return HYB_RECOVERY_##stronger;
        HYB_RECOVERIES(HYB_X)
#undef HYB_X
    case HYB_RECOVERY_COUNT: break;
    }
    return HYB_RECOVERY_ABORT;
}

static bool hyb_recovery_goes_on(hyb_recovery recovery) { return recovery != HYB_RECOVERY_ABORT; }

static double hyb_fault_amount(const hyb_fault *fault)
{
    if (fault->amount != 0) return fault->amount;
    switch (fault->kind) {
#define HYB_X(name, result, recovery, amount, sentence) \
case HYB_FAULT_##name: return amount;
        HYB_FAULTS(HYB_X)
#undef HYB_X
    case HYB_FAULT_COUNT: break;
    }
    return 0;
}

/* Fills error, if there is one, with the sentence; the result that goes with it. */
static hybrid_result hyb_fault_say(const hyb_fault *fault, hybrid_error *error)
{
    switch (fault->kind) {
#define HYB_X(name, result, recovery, amount, sentence) \
case HYB_FAULT_##name: \
    return hyb_fail(error, HYBRID_ERROR_##result, sentence, (long long)fault->step, fault->found, fault->against);
        HYB_FAULTS(HYB_X)
#undef HYB_X
    case HYB_FAULT_COUNT: break;
    }
    return hyb_fail(error, HYBRID_ERROR_INVALID, "step %lld: a fault that is not known", (long long)fault->step);
}

/* What the controller can do: a function for each recovery but GO_ON and ABORT; NULL: it cannot. False: it could not,
 * and has changed nothing. amount: see HYB_FAULTS. */
typedef bool (*hyb_recover_fn)(void *controller, const hyb_fault *fault, double amount);
typedef struct hyb_recover_ops {
    hyb_recover_fn run[HYB_RECOVERY_COUNT];
} hyb_recover_ops;

/* Recovers: by that recovery, or by what is stronger. *done: what was done. OK: the run goes on; else the fault's
 * result, with the sentence in error. The amount belongs to the first recovery; a stronger one has its own: 20 true
 * steps, or the rate as it is. */
static hybrid_result hyb_recover_by(const hyb_recover_ops *ops, void *controller, const hyb_fault *fault,
                                    hyb_recovery recovery, hyb_recovery *done, hybrid_error *error)
{
    double amount = hyb_fault_amount(fault);
    while (recovery != HYB_RECOVERY_ABORT && recovery != HYB_RECOVERY_GO_ON) {
        const hyb_recover_fn mend = ops->run[recovery];
        if (mend && mend(controller, fault, amount)) break;
        recovery = hyb_recovery_stronger(recovery);
        amount = recovery == HYB_RECOVERY_FORCE_FULL ? 20 : 1;
    }
    if (done) *done = recovery;
    return hyb_recovery_goes_on(recovery) ? HYBRID_OK : hyb_fault_say(fault, error);
}

/* The same, by what the list says. */
static hybrid_result hyb_recover(const hyb_recover_ops *ops, void *controller, const hyb_fault *fault,
                                 hyb_recovery *done, hybrid_error *error)
{
    return hyb_recover_by(ops, controller, fault, hyb_recovery_of(fault->kind), done, error);
}
#endif
