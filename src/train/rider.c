/* train/rider: what watches a training, and may move its weights between two steps: the predictor is one (predict/).
 * This is all that a trainer knows of it. A trainer has one at most. */
#ifndef HYB_TRAIN_RIDER_C
#define HYB_TRAIN_RIDER_C
#include "../api/trainer.h"
#include "../compute/backend.c"
#include "store.c"

typedef struct hyb_rider hyb_rider;

/* What a step has found. */
typedef struct hyb_step_seen {
    int64_t step;           /* its number, from 1 on */
    int64_t n_counted;      /* targets */
    double loss, grad_norm; /* before clipping */
    double rate, factor;    /* learning rate; that of the gradients, which clips them */
    double noise_scale;
    const hybrid_train_batch *batches;
} hyb_step_seen;

/* A batch of a step that is split (mode D), once it is done. */
typedef struct hyb_step_batch {
    bool back;           /* it is in the gradients; else there is its loss alone */
    double weight, loss; /* of its targets; their mean loss */
    double n_counted;    /* targets */
    double back_weight;  /* of the targets of all batches that go back, by which gradients are divided, */
    double scale;        /* and by which they are multiplied: fp16's */
} hyb_step_batch;

/* What a checkpoint keeps of it: floats on the trainer's device, and bytes of the host's. */
typedef struct hyb_rider_array {
    const char *name; /* of the tensor, "hybrid.predict.anchor" */
    float *values;
    int64_t n;
} hyb_rider_array;

typedef struct hyb_rider_ops {
    /* A step of n batches begins. How many of them go back, the first ones; of the others the losses alone are
     * computed. 0: all, and what follows is not called. */
    int32_t (*splits)(hyb_rider *r, int32_t n);
    /* A batch went back: what the gradients are now. Ops alone, which are cut: it is called until all were done. */
    hybrid_result (*measures)(hyb_rider *r, hyb_backend *be, hybrid_error *error);
    /* A batch is done, and measured if it went back. */
    void (*counts)(hyb_rider *r, const hyb_step_batch *batch);
    /* All are: may add to the gradients, by ops alone. *squares: what their squares have become more by it. */
    hybrid_result (*varies)(hyb_rider *r, hyb_backend *be, double *squares, hybrid_error *error);
    /* All gradients of a step are there; weights and states are those before it. *again: they have been put back to an
     * earlier step, and this one is not taken. Numbers that are not finite come here as well. It may shorten gradients,
     * and then sets seen->factor anew. */
    hybrid_result (*arrived)(hyb_rider *r, hyb_step_seen *seen, bool *again, hybrid_error *error);
    /* What is done to a piece of the weights in the pass that updates them, which AdamW asks; false: nothing. */
    bool (*along)(hyb_rider *r, const hyb_step_seen *seen, const hyb_portion *portion, hyb_op_displace *op);
    /* Weights and states are those after it. Says in metrics what it did. */
    hybrid_result (*updated)(hyb_rider *r, const hyb_step_seen *seen, hybrid_train_metrics *metrics,
                             hybrid_error *error);
    /* A step is done, or was put back, and the next has not begun: formats and places may change. */
    void (*between)(hyb_rider *r);
    /* The i-th array; false: there are no more. */
    bool (*array)(hyb_rider *r, int i, hyb_rider_array *array);
    /* The rest, as bytes: how many there are; what they are; from what was kept. False: they are of another one. */
    size_t (*size)(hyb_rider *r);
    void (*give)(hyb_rider *r, void *bytes, size_t size);
    bool (*fits)(hyb_rider *r, const void *bytes, size_t size);
    void (*take)(hyb_rider *r, const void *bytes, size_t size);
    /* A checkpoint without any of it was loaded: it begins anew, with the weights of now. */
    hybrid_result (*anew)(hyb_rider *r, hybrid_error *error);
    void (*left)(hyb_rider *r); /* the trainer is being destroyed */
} hyb_rider_ops;

struct hyb_rider {
    const hyb_rider_ops *ops;
};
#endif
