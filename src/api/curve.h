/* ---- curve: what a run of training shows to people: a line, a file of numbers, a picture ----------------------------
 *
 *     hybrid_curve_desc desc = { 0 };
 *     desc.path = "run.jsonl";
 *     desc.steps_done = hybrid_trainer_steps(trainer);      // 0, or those of the checkpoint that was loaded
 *     desc.n_steps = 2000;
 *     hybrid_curve_create(NULL, &desc, &curve, &error);
 *     while (hybrid_trainer_steps(trainer) < 2000) {
 *         hybrid_trainer_step(trainer, &batch, &metrics, &error);
 *         hybrid_curve_add(curve, &metrics, NULL, &error);
 *         printf("\r%-79s", hybrid_curve_line(curve));      // step 812 of 2000  loss 1.9874  2113 tokens/s  ...
 *     }
 *     hybrid_curve_draw_path(curve, "run.svg", &error);     // for a browser
 */
#ifndef HYB_API_CURVE_H
#define HYB_API_CURVE_H
#include "trainer.h"

typedef struct hybrid_curve hybrid_curve;

/* Zero is a sensible default for every field. */
typedef struct hybrid_curve_desc {
    const char *title; /* of the picture; copied */
    /* The numbers: JSON Lines, one a step, appended to the file and handed to the system at once. NULL: no file */
    const char *path;
    /* Steps that the run has done, when it goes on from a checkpoint: the file at path is read as far as that, and what
     * follows is taken out of the file: steps after the last checkpoint, which come again, and the half of a line
     * that a killed program left. 0: a new run, and nothing of an old one is kept. A file that holds anything but
     * such lines is refused, and left as it is */
    int64_t steps_done;
    int64_t n_steps;       /* of the whole run: for the time that is left, and for the picture; 0: not known */
    int64_t n_tokens;      /* read in a step, for tokens a second; 0: the number of targets */
    hybrid_write_fn write; /* receives every new line as well: in builds without files, or for a log; may be NULL */
    void *user;
} hybrid_curve_desc;

typedef struct hybrid_curve_point {
    int64_t step, n_tokens;  /* n_tokens: of hybrid_curve_desc, or the targets */
    double loss, validation; /* nats a target; NaN: not known */
    double rate, grad_norm, seconds;
    hybrid_predict_step predict; /* what a predictor did with it; zero without one */
    int64_t went_back;           /* how often the run went back to what it was after this step, and on from there */
} hybrid_curve_point;

/* runtime may be NULL. Memory: 120 bytes a step. HYBRID_ERROR_FORMAT: the file at path is not of such lines (offset: of
 * the first that is not); _INVALID, _IO, _MEMORY, _UNSUPPORTED (a path in a build without files). */
HYBRID_API hybrid_result hybrid_curve_create(hybrid_runtime *runtime, const hybrid_curve_desc *desc,
                                             hybrid_curve **curve, hybrid_error *error);
HYBRID_API void hybrid_curve_destroy(hybrid_curve *curve);

/* A step that was done. validation: the loss on data that is not learned from, when it was looked at; or NULL. A loss
 * that is not finite is null in the file and a gap in the picture.
 * Of a run with a predictor a point has what that did, and its line in the file, too ("phase", "event", "moved", "low",
 * "high", "confidence", "said", "worth"). Where metrics.predict.event is HYBRID_PREDICT_WENT_BACK, the points above
 * metrics.step are taken out, and no new one is made: the step was not taken. In the file a line {"went_back_to": step}
 * says that the lines of steps above it do not count any more.
 * HYBRID_ERROR_INVALID: the step is not above the one before; _IO: writing failed; then the point does not count, and
 * can be added again; _MEMORY. */
HYBRID_API hybrid_result hybrid_curve_add(hybrid_curve *curve, const hybrid_train_metrics *metrics,
                                          const double *validation, hybrid_error *error);

/* How far the run is, in less than 120 characters: "step 812 of 2000  loss 1.9874  validation 2.0121  2113 tokens/s
 * 7.2 min left". Tokens a second and the time left are of the last 32 steps. With a predictor the phase and its
 * confidence stand before them: "correct, confidence 0.62". Valid until the next point. */
HYBRID_API const char *hybrid_curve_line(const hybrid_curve *curve);
/* All points, *n of them; valid until the next one. */
HYBRID_API const hybrid_curve_point *hybrid_curve_points(const hybrid_curve *curve, size_t *n);

/* Draws an SVG of 800 to 440: loss (its mean and range where there are more steps than room), validation, learning
 * rate. Of a run with a predictor also the phase of each step (a strip above the frame, in which a move has the colour
 * of predictions), a mark where weights were moved (below the strip) and where the run went back, and between which
 * losses nine of ten steps were expected; beside all that, in 280 units more, the calibration: how many moves that were
 * made with so much confidence were worth something, and which part of the losses was within the band, from the first
 * step to the last. No script; dark where the reader's system is. HYBRID_ERROR_IO: write gave false. */
HYBRID_API hybrid_result hybrid_curve_draw(hybrid_curve *curve, hybrid_write_fn write, void *user, hybrid_error *error);
/* The same into a file, which is put in the place of the one before when it is whole. HYBRID_ERROR_IO, _MEMORY,
 * _UNSUPPORTED (a build without files). */
HYBRID_API hybrid_result hybrid_curve_draw_path(hybrid_curve *curve, const char *path, hybrid_error *error);
#endif
