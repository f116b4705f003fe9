/* train/objective: what a trainer makes smaller: whatever gives losses and gradients of batches. The built-in
 * transformer is one (train/transformer.c), functions of the caller are another.
 *
 * A batch is worked on in pieces, so that a step can be left and gone on with:
 *
 *     begin(batch, factor, backward)     nothing is computed yet; the batch may change afterwards
 *     while (work()) {}                  a piece each, of which the cut says how large it is
 *     end(&loss)                         waits for the device; the sum of the losses of all that counts
 *
 * Gradients are those of the losses' sum times factor, added to what is in the store. An objective that is destroyed,
 * or begun again, in the middle of a batch has only spoilt gradients. */
#ifndef HYB_TRAIN_OBJECTIVE_C
#define HYB_TRAIN_OBJECTIVE_C
#include "../api/trainer.h"
#include "../compute/slicer.c"
#include "store.c"

typedef struct hyb_objective hyb_objective;

typedef struct hyb_objective_ops {
    /* Is the batch one that it can work on? Adds to the number of targets that count, and to their weights. */
    hybrid_result (*look)(hyb_objective *o, const hybrid_train_batch *batch, int64_t *n_counted, double *weight,
                          hybrid_error *error);
    void (*begin)(hyb_objective *o, const hybrid_train_batch *batch, double factor, bool backward);
    bool (*work)(hyb_objective *o);                                            /* false: that was the last piece */
    hybrid_result (*end)(hyb_objective *o, double *loss, hybrid_error *error); /* adds to *loss */
    void (*destroy)(hyb_objective *o);
    /* The number format of its products becomes another; *bytes: what that moved. After a failure it is as before.
     * NULL, as what follows is: it has none but its own. */
    hybrid_result (*set_format)(hyb_objective *o, hybrid_type type, uint64_t *bytes, hybrid_error *error);
    void (*refresh)(hyb_objective *o); /* the weights have changed: those in the format of products follow */
} hyb_objective_ops;

struct hyb_objective {
    const hyb_objective_ops *ops;
    hyb_backend *be; /* that of the cut; on it the norm and the optimizer run as well */
    hyb_slicer cut;  /* before the back end that computes */
    int64_t ready;   /* while a batch goes back: all gradients from there on are complete */
    void *stream;    /* on which a GPU computes; NULL: gradients are in the host's memory */
};
#endif
