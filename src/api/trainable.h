/* ---- training somebody else's model ---------------------------------------------------------------------------------
 *
 * A model of any kind, of which the caller computes losses and gradients, in the same loop as the built-in ones: with
 * the optimizers, schedules, clipping, accumulation, averages, metrics and checkpoints of hybrid_trainer_desc.
 *
 *     hybrid_trainable own = { .params = params, .n_params = 4, .weights = weights, .n_weights = n,
 *                              .gradients = my_gradients, .user = &my_model };
 *     hybrid_trainer_create(&(hybrid_trainer_desc){ .own = &own, .rate = 1e-3f }, &trainer, &error);
 *     hybrid_trainer_step(trainer, &(hybrid_train_batch){ .own = &my_batch }, &metrics, &error);
 *
 * examples/own_model.c is a whole program. */
#ifndef HYB_API_TRAINABLE_H
#define HYB_API_TRAINABLE_H
#include "runtime.h"

/* A matrix (rows, cols), row by row, or a vector, at `at` of the weights and of the gradients. */
typedef struct hybrid_trainable_param {
    const char *name;   /* in checkpoints: 1 to 48 bytes, no two alike */
    size_t at;          /* floats from the beginning */
    int64_t rows, cols; /* rows 0 or 1: a vector of cols values */
    bool is_table;      /* of embeddings, or what makes logits: HYBRID_OPTIMIZER_MUON leaves it to AdamW */
} hybrid_trainable_param;

/* Zero it; params, weights and gradients are needed. It is copied, the table of parameters with it. */
typedef struct hybrid_trainable {
    hybrid_runtime *runtime; /* NULL: the default one */
    const char *name;        /* of the kind of model, in checkpoints: one of another is refused; NULL: "own" */
    const hybrid_trainable_param *params; /* no two have a value in common */
    int32_t n_params;
    float *weights; /* (n_weights) the caller's, which outlive the trainer; they change at the end of a step */
    size_t n_weights;
    void *user;
    /* The examples of a batch; the loss of a step is their mean. NULL: 1 for each batch. Less than 1 is refused. */
    int64_t (*count)(void *user, const void *batch);
    /* *loss: the sum of the losses of the batch's examples, by the weights of now. grads NULL: no more is asked for;
     * else the gradient of that sum, times factor, is added to grads (n_weights, laid out as the weights). false: it
     * failed, and the step is given up (HYBRID_ERROR_CANCELLED). May not call the trainer. */
    bool (*gradients)(void *user, const void *batch, double factor, float *grads, double *loss);
} hybrid_trainable;
#endif
