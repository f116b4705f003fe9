/* ---- prediction: a training that is watched, and moved along where it goes anyway -----------------------------------
 *
 *     hybrid_predict_desc desc = { 0 };
 *     desc.trainer = trainer;
 *     hybrid_predictor_create(&desc, &predictor, &error);
 *     ...                                        // hybrid_trainer_step as before: that is all
 *     puts(hybrid_predictor_verdict(predictor)); // what it bought, also when that is nothing
 *     hybrid_predictor_destroy(predictor);
 *
 * Warm-up, then true steps (full), from which a predictor learns where the weights go; then it moves them there
 * (predict), and true steps make good what it missed (correct). A move is a sum of a few directions that true steps
 * took: d, what the last window of them did; b, what persists of that over windows; s, their slow mean; r, the way to
 * the average of the weights. How much of each is what is predicted, with its uncertainty; weights are never guessed
 * one by one. No gradient is skipped, but in modes C and D: fewer steps are needed, if it succeeds.
 *
 *     A     after each window of true steps a small move: c_d d + c_b b, with c_d = eta - 1 and c_b = eta mu that of
 *           Nesterov's momentum over windows (Douillard et al. 2023, DiLoCo's outer step; SNOO)
 *     A2    after each step, along the mean step (Nesterov's momentum of the mean displacement)
 *     B     seldom a jump of `horizon` steps along s, then correct_steps true ones
 *     C     of `horizon` steps only each correction_interval-th is computed, the others are moves along s
 *     D     for research: weights are not moved. Of the n_batches of a step (2 or more) only `fraction` go back, the
 *           first ones; of the others the losses alone are computed, which is about a third of the work. What a loss
 *           tells of its gradient along the optimizer's first moment is learnt from the batches that go back, and
 *           stands for the others: a control variate, which leaves the expectation as it is, and the noise that of a
 *           smaller batch but for that one direction. It was worth nothing where it was measured
 *           (tests/results/2026-11-30-predict.md). Refused with all_reduce, with offload_optimizer, and where the
 *           optimizer has no first moment
 *     auto  mode A, as much of it as hindsight says that it is worth, nothing of it included: the default
 *
 * What the run does is watched for losses and gradients that go astray; then weights, optimizer and number of steps go
 * back to what they were before the last move, bit for bit. What else is done when something goes wrong: see
 * hybrid_recovery. */
#ifndef HYB_API_PREDICT_H
#define HYB_API_PREDICT_H
#include "trainer.h"

typedef struct hybrid_predictor hybrid_predictor;

typedef enum hybrid_predict_mode {
    HYBRID_PREDICT_AUTO = 0,
    HYBRID_PREDICT_OFF, /* it only watches: the run is that of a trainer without a predictor, bit for bit */
    HYBRID_PREDICT_A,
    HYBRID_PREDICT_A2,
    HYBRID_PREDICT_B,
    HYBRID_PREDICT_C,
    HYBRID_PREDICT_D
} hybrid_predict_mode;

/* Directions that are known to be worth nothing, for studies: do they do harm? */
typedef enum hybrid_placebo { HYBRID_PLACEBO_NONE = 0, HYBRID_PLACEBO_RANDOM, HYBRID_PLACEBO_MIRROR } hybrid_placebo;

/* What says when it is predicted. STATIC and ADAPTIVE are for mode C: some steps in a row are predicted, none of them a
 * true one, then correct_steps and full_steps true ones follow. */
typedef enum hybrid_predict_rule {
    HYBRID_RULE_AUTO = 0, /* the end of a window, if the mode asks for it, or a gain is expected */
    HYBRID_RULE_STATIC,   /* confidence, from confidence_threshold on: up to max_predict_steps, the more the surer */
    HYBRID_RULE_ADAPTIVE  /* the same, as many as health and stability of the run allow */
} hybrid_predict_rule;

/* What could be made better while a run goes on: bits of hybrid_predict_desc.tune. */
enum {
    HYBRID_TUNE_HEALTH = 1,   /* how well the run goes, 0 to 1: a run in bad health has a smaller rate, shorter
                               * predictions and true steps first */
    HYBRID_TUNE_GROUPS = 2,   /* gradients of a kind of weights that are out of proportion to these are shortened */
    HYBRID_TUNE_PLATEAU = 4,  /* where the loss stands still early on, the rate is half as high again for 100 steps */
    HYBRID_TUNE_HORIZONS = 8, /* nothing is predicted farther ahead than the loss is foretold better than by its last
                               * value */
    HYBRID_TUNE_BATCHES = 16, /* batches of a step follow the noise of gradients; see hybrid_trainer_set_batches */
    HYBRID_TUNE_ALL = 31
};

/* What is done when something goes wrong, from the mildest to the strongest; where one cannot be done the next stronger
 * one is. */
typedef enum hybrid_recovery {
    HYBRID_RECOVERY_GO_ON = 0,  /* nothing has to be done */
    HYBRID_RECOVERY_SKIP_BATCH, /* the loss of a batch is not finite, and nothing was moved that could be taken back:
                                 * the batch is left out, and the step is not taken; three in a row at most */
    HYBRID_RECOVERY_SHORTEN,    /* something is suspicious: predictions become shorter */
    HYBRID_RECOVERY_RAISE_THRESHOLD, /* they succeed less often than they claim: confidence_threshold is raised */
    HYBRID_RECOVERY_FORCE_FULL,      /* something goes wrong: true steps alone for a while */
    HYBRID_RECOVERY_RESET_PREDICTOR, /* the predictor's own numbers are not finite: it forgets what it has learnt */
    HYBRID_RECOVERY_ROLL_BACK,       /* the run goes astray: back to before the last move */
    HYBRID_RECOVERY_ABORT,           /* the step ends with an error, and weights are as before it */
    HYBRID_RECOVERIES
} hybrid_recovery;

/* Zero is a sensible default for every field but trainer. */
typedef struct hybrid_predict_desc {
    hybrid_trainer *trainer; /* which has no predictor, and is in the middle of no step; it outlives the predictor, or
                              * is destroyed before: the predictor then only has numbers to give */
    hybrid_predict_mode mode;
    int32_t warmup_steps;        /* true steps before the first prediction; 0: 100 */
    int32_t full_steps;          /* true steps after a jump of the rate, or after something went wrong; 0: 20 */
    int32_t window;              /* K: true steps of a window; 0: 20 */
    float eta, mu;               /* of mode A; 0: 0.7 and 0.5 */
    float gamma;                 /* of s; 0: 0.9 */
    float beta;                  /* mode A2: how far along the mean step; 0: 0.5 */
    float amplitude;             /* modes B and C: of what s promises; 0: 1 */
    int32_t horizon;             /* H, mode B: steps that a jump stands for: 16, 32 (0), 64 or 128; C: 64 */
    int32_t correction_interval; /* I, mode C: each I-th step is a true one: 2, 4 (0) or 8 */
    int32_t correct_steps;       /* true steps after a move of mode A that count as Correct; 0: 5 */
    float predict_until;         /* modes B and C: part of n_steps after which there are none; 0: 0.75 */
    float fraction; /* mode D: of the n_batches of a step, the part that goes back, one at least; 0: 0.5; 1: all, the
                     * bits of plain training */
    float trust;    /* a move is at most so many times as long as the window's d; 0: 0.7 */
    float sigma;    /* deviations of its noise at which a loss is suspicious; 0: 3 */
    float explodes, vanishes; /* times its usual norm, at which a gradient is suspicious; 0: 100 and 0.01 */
    bool vectors;             /* norms and biases are moved along as well */
    bool no_snapshot;         /* less memory: nothing can go back; what goes astray is only stopped */
    int32_t members; /* of an ensemble of small recurrent world models, which watches and foretells losses, gains and
                      * coefficients; 5 is usual, 16 at most; 0: none. About 4 MB each. Where a GPU trains they learn
                      * there, if it has another 6 MB for each */
    bool learned;    /* modes A and auto: the coefficients of b are what the ensemble foretells, family by family */
    /* What hindsight is used for: at the end of a window it is known what it should have been foretold to be. Each is
     * off at zero; any of them keeps the window before apart, which takes 4 bytes a weight. */
    bool keep_last; /* moves are judged by the very window before them, not by an estimate of it */
    bool correct;   /* families of weights in which the coefficients of the settings, or of the ensemble, are off again
                     * and again get corrected ones (recursive least squares on the features) */
    int32_t residuals; /* of so many windows what was foretold wrongly is kept, and similar ones correct the next; 1000
                        * is usual */
    int32_t compress_rank; /* of each matrix, what of the last 8 of these windows lay along none of the directions is
                            * kept as factors of this rank, at most 60; what they leave out is carried to the next; 0:
                            * none. Modes A and auto go in advance what similar windows left, while that helps. Carrying
                            * takes 4 bytes a weight; on the host alone */
    bool correct_loss;     /* what the loss is expected to be is corrected in the same way */
    bool accumulate;       /* all that weights are moved by is added up: 4 bytes a weight more */
    /* Audits: each audit_every-th move of the modes A and B (0: none) is tried: audit_steps (0: 16; a multiple of 4)
     * steps with it and as many without it, over the same batches and to a rate of 0; then the run goes on as if
     * nothing had been. What a move was really worth corrects the judge. They take at most audit_share of the steps
     * (0: 0.02), and need mark, go_back, a snapshot, and a trainer that knows its n_steps. */
    int32_t audit_every, audit_steps;
    float audit_share;
    hybrid_placebo placebo;
    uint64_t seed;
    hybrid_predict_rule rule;
    int32_t max_predict_steps;  /* STATIC, ADAPTIVE; 0: 15 */
    int32_t max_consecutive;    /* predictions in a row, STATIC, ADAPTIVE; 0: 5 */
    float confidence_threshold; /* STATIC, ADAPTIVE; 0: 0.85 */
    /* HYBRID_TUNE_ bits: of what looks on, and recommends (hybrid_predict_metrics); of these, of what is carried out:
     * the run is another one then than without. 0: none */
    uint32_t tune, tune_acts;
    int32_t most_batches; /* of a step, that HYBRID_TUNE_BATCHES may ask for; 0: 64 */
    bool formats;         /* products have a number format of each phase: */
    hybrid_type
        phase_format[4]; /* by hybrid_phase; see hybrid_trainer_set_format, which changes it for them. It stays as
                          * it is then when the predictor is destroyed. hybrid_train_metrics counts the changes */
    bool park; /* training on a GPU: while steps are predicted, what the optimizer keeps of every weight is in the
                * host's memory; it comes back while the next true step computes. The same bits */
    /* Where the caller is in its data, so that a run that goes back reads the same batches again: mark writes up to 64
     * bytes, go_back is given them. NULL: it goes on with the batches that come next. */
    void (*mark)(void *user, void *position);
    void (*go_back)(void *user, const void *position);
    void *user;
} hybrid_predict_desc;

typedef struct hybrid_predict_metrics {
    hybrid_phase phase;
    int64_t steps_of_phase[4]; /* true steps in each; of PREDICT: those that were predicted */
    int64_t n_windows;         /* windows that were looked at */
    int64_t n_moves;           /* that weights were moved */
    int64_t n_rollbacks;
    int64_t n_stopped;                 /* moves that were left out because of something that went astray */
    double hindsight, hindsight_error; /* what times b would have been the best guess of the next d: mean, its error */
    double cosine;                     /* between the next d and b: mean */
    double moved;                      /* norm of the last move, as a part of that of d */
    double coverage;                   /* of the band of 90 % so far: part of the losses that were within */
    double gained, gained_error;       /* steps: how far moves had gone in advance of what true steps then did */
    /* mean |error| of the logarithm of a window's mean loss, told one window before: by level and trend, */
    double error_of_windows, error_of_last, error_of_law; /* by the window before, and by the law alone */
    double brier, ece;                                    /* of the confidence */
    int64_t n_parked;                      /* how often states of the optimizer went to the host (park), and */
    uint64_t parked_bytes;                 /* how many bytes; as many came back */
    int64_t recoveries[HYBRID_RECOVERIES]; /* how often each was carried out */
    /* Of hybrid_predict_desc.tune, as usual where a part is off, or knows too little: */
    double health;                       /* 0 to 1; 0: not known */
    double advised_rate, advised_length; /* factors, of the learning rate and of predictions; 1: as usual */
    int32_t advised_full;                /* true steps that should come first */
    int32_t plateau;                     /* 0: none; 1: slow, 2: stuck, 3: the end of the run */
    double shortened[8]; /* of families of weights: part of the steps in which gradients were out of proportion */
    int32_t reach;       /* windows up to which predictions are of use; 0: not known, or not at all */
    int32_t batches;     /* that a step should have */
    int64_t n_acts[5];   /* how often the advice of each HYBRID_TUNE_ bit was carried out */
    /* With correct: mean squares of the error of coefficients, of the settings and as corrected, of late; windows and
     * families in which they were corrected */
    double coefficients_error, corrected_error;
    int64_t n_corrected;
    /* With residuals: that are kept; how long what was left of a window was, as a part of it, without them and with
     * them, of late */
    int64_t n_residuals;
    double residual_error, remembered_error;
    /* With compress_rank: bytes that factors saved so far over the matrices that they stand for; moves that had similar
     * ones in them; how long the rest of a window was, as a part of it, and what of it they did not tell, of late */
    int64_t bytes_saved, n_recalled;
    double rest_error, recalled_error;
    double loss_error, corrected_loss_error; /* with correct_loss: of a window's mean log loss, of late */
    /* With accumulate: how long all moves were, and all windows; how far weights were moved in the end; of the moves'
     * length, the part that the window after each took back, and the part that it went on with */
    double moved_path, true_path, moved_in_all, taken_back, gone_on;
    int64_t n_audits, audit_steps;  /* true steps that they took */
    double audit_gain, audit_error; /* steps that a move was worth: mean over audits, its error */
    double audit_bias;              /* steps by which they found more than the judge: mean */
    /* Mode D: batches that went back, and those of which only the loss was computed; the correlation, of late, of a
     * batch's loss with its gradient along the first moment, and the slope that is used; by how much the variance of
     * that part of a batch's gradient is smaller when its loss is known, by slopes of before it was seen, as a part of
     * it; and as a part of the noise of the whole gradient (0: not known, as where one batch of a step goes back) */
    int64_t n_backward, n_forward;
    double loss_correlation, variate_slope, variance_removed, noise_removed;
    double seconds; /* that the predictor took */
    uint64_t bytes; /* that it holds */
} hybrid_predict_metrics;

/* Settings by name, for command lines and files: "window" is desc->window; names of configurations of earlier hybrid
 * trainers are known as well, with what they mean here. HYBRID_ERROR_INVALID: no such key, or a value that it does not
 * take; _UNSUPPORTED: a key that cannot be set here, with the reason. desc is as before then. */
HYBRID_API hybrid_result hybrid_predict_set(hybrid_predict_desc *desc, const char *key, const char *value,
                                            hybrid_error *error);
/* The i-th key; NULL: there are no more. meaning (static): what it is, or why it cannot be set. Either may be NULL. */
HYBRID_API const char *hybrid_predict_key(size_t i, bool *can_be_set, const char **meaning);
/* Settings that go together: "default", "watch", "conservative", "balanced", "aggressive", "micro_correction",
 * "learned", "memory". All fields of desc but trainer, seed, mark, go_back and user are set. HYBRID_ERROR_INVALID:
 * there is no such preset, and desc is as before. */
HYBRID_API hybrid_result hybrid_predict_preset(const char *name, hybrid_predict_desc *desc, hybrid_error *error);
/* The i-th preset, and what it is for; NULL: there are no more. */
HYBRID_API const char *hybrid_predict_preset_name(size_t i, const char **meaning);

/* Attaches a predictor to a trainer: from the next step on it watches. HYBRID_ERROR_INVALID: a setting that cannot be,
 * by name; the trainer has one; _LIMIT: there is no room for it below the trainer's max_bytes; _MEMORY. */
HYBRID_API hybrid_result hybrid_predictor_create(const hybrid_predict_desc *desc, hybrid_predictor **predictor,
                                                 hybrid_error *error);
/* The trainer goes on by true steps alone. */
HYBRID_API void hybrid_predictor_destroy(hybrid_predictor *predictor);
/* The descriptor with every zero replaced by what is used. */
HYBRID_API void hybrid_predictor_describe(const hybrid_predictor *predictor, hybrid_predict_desc *desc);
/* Bytes that a predictor of this descriptor takes, apart from the trainer: equal to what create then allocates. */
HYBRID_API hybrid_result hybrid_predictor_plan(const hybrid_predict_desc *desc, uint64_t *bytes, hybrid_error *error);
HYBRID_API void hybrid_predictor_metrics(const hybrid_predictor *predictor, hybrid_predict_metrics *metrics);
/* A sentence about what prediction did so far, with its uncertainty. Valid until the next call. */
HYBRID_API const char *hybrid_predictor_verdict(hybrid_predictor *predictor);
#endif
