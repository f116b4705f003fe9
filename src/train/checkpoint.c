/* train/checkpoint: everything that a training goes on with, in a file.
 *
 * It is a GGUF, and a model: keys and tensors of the model's file with the weights as F32, and beside them
 *
 *     hybrid.checkpoint.version    1
 *     hybrid.checkpoint.own        where the model is not ours: "adapter", or the name of the kind of somebody else's:
 *                                  there are no keys of a model then, and the tensors are the parameters by their names
 *     hybrid.checkpoint.step       steps done
 *     hybrid.checkpoint.noise      averages of |G|^2 and S (train/noise.c)
 *     hybrid.checkpoint.format     of products: its type, and the numbers of train/format.c
 *     hybrid.checkpoint.rate ...   numbers of the descriptor (hyb_checkpoint_numbers)
 *     hybrid.checkpoint.user       bytes of the caller
 *     hybrid.m.NAME, hybrid.v.NAME the states of the optimizer for the tensor NAME
 *     hybrid.ema.NAME              the average of its weights
 *     hybrid.predict.*             what a predictor keeps (train/rider.c): its arrays, and
 *     hybrid.predict.bytes         hybrid.checkpoint.predict_size bytes, four in the place of a value
 *     hybrid.checksum              the last tensor: the checksum of all bytes before its own, 16 bits a value */
#ifndef HYB_TRAIN_CHECKPOINT_C
#define HYB_TRAIN_CHECKPOINT_C
#include "checkpoint/save.c"
#include "checkpoint/load.c"

/* ---- the caller's bytes ------------------------------------------------------------------------------------------ */

static hybrid_result hyb_checkpoint_set_user(hybrid_trainer *t, const void *data, size_t size, hybrid_error *error)
{
    unsigned char *user = NULL;
    if (size && !(user = (unsigned char *)hyb_alloc(t->rt, size))) return hyb_fail_memory(error, size);
    if (size) memcpy(user, data, size);
    hyb_free(t->rt, t->user);
    t->user = user;
    t->user_size = size;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_trainer_set_user,
           (hybrid_trainer *trainer, const void *data, size_t size, hybrid_error *error), (trainer, data, size, error))
{
    enum { MOST = 1 << 28 };
    hybrid_result r;
    if (!trainer || (!data && size))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_set_user: %s is NULL",
                        trainer ? "data" : "trainer");
    if (size > MOST)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "hybrid_trainer_set_user: a checkpoint has room for %d bytes", MOST);
    if ((r = hyb_trainer_unused(trainer, "hybrid_trainer_set_user", error)) != HYBRID_OK) return r;
    trainer->in_use = hyb_process();
    r = hyb_checkpoint_set_user(trainer, data, size, error);
    trainer->in_use = 0;
    return r;
}

HYB_BORDER(const void *, hybrid_trainer_user, (const hybrid_trainer *trainer, size_t *size), (trainer, size))
{
    if (size) *size = trainer ? trainer->user_size : 0;
    return trainer ? trainer->user : NULL;
}

HYB_BORDER(int64_t, hybrid_trainer_steps, (const hybrid_trainer *trainer), (trainer))
{
    return trainer ? trainer->step : 0;
}
#endif
