/* ---- training: change the weights of a model so that it predicts given texts better -------------------------------
 */
#ifndef HYB_API_TRAINER_H
#define HYB_API_TRAINER_H
#include "adapter.h"
#include "model.h"
#include "quant.h"
#include "trainable.h"

typedef struct hybrid_trainer hybrid_trainer;

/* What the learning rate does after the warm-up, during which it rises linearly. */
typedef enum hybrid_schedule {
    HYBRID_SCHEDULE_CONSTANT = 0,
    HYBRID_SCHEDULE_LINEAR, /* falls linearly to rate_end at n_steps */
    HYBRID_SCHEDULE_COSINE, /* falls along half a cosine to rate_end at n_steps */
    HYBRID_SCHEDULE_WSD     /* warm-up, stable, decay: falls linearly over the last n_decay of n_steps */
} hybrid_schedule;

/* Adds numbers up over all ranks (see "more than one machine" below): data (count) becomes, on each of them, the sum of
 * what was in it on all, with the same bits everywhere. stream NULL: data is the host's. Else data is an address of the
 * GPU, made by what was put on that stream (a CUstream) before, and what is put on it after waits for the sum. false:
 * it failed. */
typedef bool (*hybrid_all_reduce_fn)(void *user, float *data, size_t count, void *stream);

/* What the gradients of a step make of the weights. */
typedef enum hybrid_optimizer {
    HYBRID_OPTIMIZER_ADAMW = 0, /* Loshchilov and Hutter 2019 */
    HYBRID_OPTIMIZER_SGD,       /* gradient descent, with momentum where there is some: m = momentum m + g */
    HYBRID_OPTIMIZER_MUON /* Jordan et al. 2024: matrices of hidden layers go along their momentum made orthogonal,
                           * times max(1, rows / columns)^0.5; AdamW for embeddings, the head, norms and biases */
} hybrid_optimizer;

/* Zero is a sensible default for every field but model, adapter and own: exactly one of the three is set. */
typedef struct hybrid_trainer_desc {
    hybrid_model *model; /* loaded with hybrid_model_desc.trainable; outlives the trainer. Its weights are changed in
                          * place: contexts of the model run what has been trained so far, between two steps */
    hybrid_adapter *adapter; /* what is trained is this adapter of the model (model may be NULL then), and the model's
                              * weights stay as they are: in any type, mapped from a file, which need not be trainable.
                              * It outlives the trainer; sequences that wear it run what has been trained so far. The
                              * passes run on a GPU that has all of the model, if there is room, with weights decoded to
                              * floats; else on the host (the log says why), with the very products that run there:
                              * those of block types on integers */
    const hybrid_trainable *own; /* what is trained is somebody else's model; n_seq, n_ctx and recompute_every are not
                                  * looked at */
    int32_t n_seq;               /* sequences of a batch; 0: 4 */
    int32_t n_ctx;               /* tokens of each; 0: as the model was trained for, at most 256 */
    int32_t n_batches;       /* batches of a step, whose gradients are added up: the same step as with n_batches * n_seq
                              * sequences, in the memory of n_seq; 0: 1 */
    int32_t recompute_every; /* layers of which only the last one's output is kept for the way back, on which they run
                              * forward again: less memory, the same bits, a tenth to a fifth more time. 1: each layer
                              * by itself, the least memory for up to some dozens of layers; 0: all is kept */
    hybrid_type format; /* the type to which the operands of products (rows, gradients, weights) are rounded before they
                         * are multiplied: HYBRID_TYPE_F32 (0), they are not; HYBRID_TYPE_BF16, HYBRID_TYPE_F16; see
                         * hybrid_trainer_set_format */
    hybrid_optimizer optimizer;
    float rate;         /* learning rate; 0: 3e-4, of SGD 0.01 */
    float beta1, beta2; /* of AdamW; 0: 0.9 and 0.95 */
    float eps;          /* of AdamW; 0: 1e-8 */
    float momentum;     /* of SGD; 0: none. Of Muon; 0: 0.95 */
    bool nesterov;      /* SGD: the step looks ahead, g + momentum m. Muon always does */
    float muon_rate;    /* learning rate of Muon's matrices at the time when the others have `rate`, with which it goes
                         * up and down; 0: 0.02 */
    float decay;        /* weight decay of matrices, decoupled whatever the optimizer: w = w - rate decay w */
    bool decay_vectors; /* of norms and biases as well */
    float clip;         /* largest norm of all gradients together; what is longer is shortened to it; 0: any */
    float ema;          /* e.g. 0.999: an average of the weights is kept, of which each step replaces 1 - ema by the
                         * weights of now; see hybrid_trainer_swap_ema; 0: none */
    hybrid_schedule schedule;
    int64_t n_warmup, n_decay, n_steps; /* steps */
    float rate_end;                     /* learning rate at the end of the schedule */
    size_t max_bytes;                   /* that a trainer may take, see hybrid_trainer_plan; 0: as many as it needs */
    bool offload_optimizer; /* training on a GPU: what the optimizer keeps of every weight stays in the host's memory,
                             * and travels through the GPU's while that computes. The same bits, and about as many bytes
                             * cross the bus each step, in both directions, as there are (metrics.moved_bytes) */
    hybrid_all_reduce_fn all_reduce;    /* NULL: this is the only rank */
    bool (*all_reduce_end)(void *user); /* NULL, or: all_reduce may return before data is the sum, and this waits until
                                         * all of them are, which were begun since it was called last */
    void *all_reduce_user;
} hybrid_trainer_desc;

/* A batch is (n_seq, n_ctx) tokens, row by row, each sequence from its beginning. Zero stands for fields that are not
 * needed. */
typedef struct hybrid_train_batch {
    const int32_t *ids;     /* what is read */
    const int32_t *targets; /* what should come next; negative: not counted */
    const float *weights;   /* how much each target counts, at least 0; NULL: 1 each */
    int32_t n_seq, n_ctx;   /* of a batch that is smaller than the trainer's; 0: as large */
    const void *own;        /* of somebody else's model: what its functions are given; the rest is not looked at */
} hybrid_train_batch;

/* Where a run with a predictor is (predict.h). */
typedef enum hybrid_phase {
    HYBRID_PHASE_WARMUP = 0, /* without a predictor it stays this */
    HYBRID_PHASE_FULL,       /* true steps */
    HYBRID_PHASE_PREDICT,    /* steps that were not computed but predicted */
    HYBRID_PHASE_CORRECT     /* true steps that make good what a prediction missed */
} hybrid_phase;

/* What a predictor did with a step. */
typedef enum hybrid_predict_event {
    HYBRID_PREDICT_NOTHING = 0,
    HYBRID_PREDICT_MOVED,     /* after the step, weights were moved along what is predicted */
    HYBRID_PREDICT_WENT_BACK, /* weights, optimizer and number of steps are those of an earlier step again, and this one
                               * was not taken: metrics.step is the earlier step's. Where only its batch is left out,
                               * that is the step before */
    HYBRID_PREDICT_AUDITED    /* the step belongs to the trial of a move, and will be taken back */
} hybrid_predict_event;

typedef struct hybrid_predict_step {
    hybrid_phase phase; /* in which the step was */
    hybrid_predict_event event;
    double low, high;  /* the loss of the step was expected between them, at nine of ten; both 0: nothing was */
    double confidence; /* 0..1, that a prediction gains something */
    double moved;      /* norm of the move, as a part of that of the window's steps */
    double said;       /* a move was judged with this step: the confidence that it was made with; 0: none was, */
    double worth;      /* and how many steps it had gone in advance; negative: it had gone back */
} hybrid_predict_step;

typedef struct hybrid_train_metrics {
    int64_t step;             /* steps done, this one included */
    int64_t n_tokens;         /* targets counted in this step */
    double loss;              /* mean cross-entropy of this step's targets before it, in nats, weights aside */
    double grad_norm;         /* of all gradients together, before clipping */
    double rate;              /* learning rate of this step */
    double seconds;           /* of this step */
    double tokens_per_second; /* targets counted in it, by its seconds */
    double seconds_left;      /* until n_steps are done, by the pace of the last steps; 0: n_steps is not known */
    uint64_t bytes;           /* that the trainer holds: hybrid_train_plan.total */
    uint64_t moved_bytes;     /* of the optimizer's states that went to the GPU or came from it, for this step */
    /* How noisy gradients are (McCandlish et al. 2018, the simple noise scale): the number of targets at which the
     * noise of a batch's gradient is as large as the gradient. Batches far smaller waste steps, batches far larger
     * waste targets. Estimated from the gradient of the first of n_batches and that of all, averaged over about twenty
     * steps; 0: not known, as where n_batches is 1 */
    double noise_scale;
    hybrid_type format;       /* of this step's products */
    int64_t n_format_changes; /* by hybrid_trainer_set_format, in all; and */
    uint64_t format_bytes; /* what they have moved: read and written to have weights in the new format. On the host 0:
                            * there products round what they read anyway */
    double loss_scale;     /* by which the loss of this step was multiplied on the way back; 1: not of fp16 */
    bool skipped;          /* fp16: a gradient was infinite or NaN, so nothing was changed, and this is not a step; */
    int64_t n_skipped;     /* how often that has happened */
    hybrid_predict_step predict; /* zero without a predictor */
} hybrid_train_metrics;

/* HYBRID_ERROR_UNSUPPORTED: no kernel for heads of the model's sizes, or for a type of its matrices;
 * HYBRID_ERROR_MEMORY; nothing has been changed then. Every family that runs can be trained, but for encoders, on the
 * CPU and on a GPU. Of a mixture of experts the choice has no gradient, its weights have; Muon leaves the experts'
 * matrices, and what an adapter has for them, to AdamW. */
HYBRID_API hybrid_result hybrid_trainer_create(const hybrid_trainer_desc *desc, hybrid_trainer **trainer,
                                               hybrid_error *error);
HYBRID_API void hybrid_trainer_destroy(hybrid_trainer *trainer);
/* The descriptor with every zero replaced by what is used. */
HYBRID_API void hybrid_trainer_describe(const hybrid_trainer *trainer, hybrid_trainer_desc *desc);

/* One step: forward and backward over n_batches batches, and the optimizer. batches: that many. metrics may be NULL.
 * One thread at a time, and no context of the model runs meanwhile.
 * HYBRID_ERROR_INVALID: a token or target that the model does not have, a weight that is negative or not finite, no
 * target that counts; HYBRID_ERROR_NUMERIC: the loss or a gradient is not finite. The weights and the optimizer are as
 * before then. */
HYBRID_API hybrid_result hybrid_trainer_step(hybrid_trainer *trainer, const hybrid_train_batch *batches,
                                             hybrid_train_metrics *metrics, hybrid_error *error);
/* The same in slices, so that a program trains between its frames: works for about budget_us microseconds, then returns
 * OK with *done false; called again with the same batches, it goes on. A step has the bits of hybrid_trainer_step; when
 * it is done, *done is true, and metrics (may be NULL) are filled, of which seconds are those of all slices. A call
 * that fails has given up its step.
 * Weights and optimizer change in the last slice of a step, all of them: before it they are those of the step before,
 * and contexts run the model between slices, but not during one. The batches are read when their turn comes: until
 * *done they must stay as they are.
 * A slice does one operation at least, and ends before one that would probably take too long. The longest cannot be
 * cut: a product of a layer, or of some rows of logits, with all rows of a batch, and the update of all weights (AdamW:
 * about 1.5 ms a million; Muon multiplies matrices then). A small n_seq (with more n_batches) makes products short.
 * Until the step is done, hybrid_trainer_step, _evaluate, _save and _load are refused by HYBRID_ERROR_INVALID;
 * hybrid_trainer_cancel gives it up, and hybrid_trainer_destroy may be called at any time. */
HYBRID_API hybrid_result hybrid_trainer_work(hybrid_trainer *trainer, const hybrid_train_batch *batches,
                                             uint64_t budget_us, bool *done, hybrid_train_metrics *metrics,
                                             hybrid_error *error);
/* Gives up the step that hybrid_trainer_work is in the middle of, if there is one: as if it had not been begun. */
HYBRID_API void hybrid_trainer_cancel(hybrid_trainer *trainer);

/* ---- number formats ----
 *
 * What is multiplied may be rounded, to nearest even, to HYBRID_TYPE_BF16 or HYBRID_TYPE_F16, as tensor cores want it:
 * the rows that a product reads, the gradients of rows that go back through it, and its weights. All else is fp32: the
 * weights that the optimizer changes (and contexts run), sums, gradients of weights, norms, attention, the loss, the
 * optimizer. hybrid_trainer_evaluate has the format of the step that comes next. Of an adapter's model, weights that
 * are not F32 are multiplied as in every format; its A and B are rounded as all F32 is. fp16 has no numbers above 65504
 * and none below 6e-8: gradients are those of the loss times a power of two, 65536 at first. A step in which one of
 * them is infinite or NaN is skipped: weights, optimizer and number of steps stay as they are, metrics.skipped says so,
 * and the factor is halved; 2000 steps without that double it. HYBRID_ERROR_NUMERIC: the loss itself is not finite, or
 * a gradient with the factor 1. A GPU keeps the rounded weights beside the others (hybrid_train_plan.rounded) and
 * multiplies on its tensor cores. The host computes what a GPU would, in about the time of fp32; so does one before
 * compute capability 8.0 in bf16. Nothing is won there then, and a line in the log says so (WARN). */

/* Changes the format between two steps. A checkpoint holds it, and hybrid_trainer_load takes it from there, whatever
 * the descriptor said; then it can be changed here. HYBRID_ERROR_INVALID: not such a format; _UNSUPPORTED: of a model
 * of your own; _LIMIT: it takes more than max_bytes; _MEMORY: nothing has been changed. */
HYBRID_API hybrid_result hybrid_trainer_set_format(hybrid_trainer *trainer, hybrid_type format, hybrid_error *error);

/* Another number of batches for the steps that come (hybrid_trainer_desc.n_batches), between two steps: as noise grows,
 * larger batches are worth more (HYBRID_TUNE_BATCHES of predict.h says when). A checkpoint does not hold it.
 * HYBRID_ERROR_INVALID: less than 1. */
HYBRID_API hybrid_result hybrid_trainer_set_batches(hybrid_trainer *trainer, int32_t n_batches, hybrid_error *error);

/* Mean cross-entropy of the targets of one batch, in nats; nothing is changed. */
HYBRID_API hybrid_result hybrid_trainer_evaluate(hybrid_trainer *trainer, const hybrid_train_batch *batch, double *loss,
                                                 hybrid_error *error);
/* Exchanges the weights and their average (hybrid_trainer_desc.ema): contexts run, hybrid_trainer_evaluate measures and
 * hybrid_trainer_export writes the average then. Once more, and the weights are back, with the same bits; steps and
 * hybrid_trainer_save are refused before (HYBRID_ERROR_INVALID). The average begins with the weights that the trainer
 * began with. HYBRID_ERROR_INVALID: none is kept. */
HYBRID_API hybrid_result hybrid_trainer_swap_ema(hybrid_trainer *trainer, hybrid_error *error);
/* Steps done, those before a checkpoint was loaded included. */
HYBRID_API int64_t hybrid_trainer_steps(const hybrid_trainer *trainer);

/* ---- memory ----
 *
 * What a trainer takes, apart from the model, which is there: equal to the byte to what hybrid_trainer_create then
 * allocates. If that is more than max_bytes, it does with less, in this order, says so in the log (WARN), and takes the
 * same steps:
 *
 *     1. layers run forward again on the way back (recompute_every): the most layers at a time that fit. The same bits
 *     2. a batch is worked on in parts of fewer sequences, whose gradients are added up: the largest that fit, each as
 *        under 1. The same step but for the rounding of sums (a millionth)
 *     3. on a GPU, states of the optimizer are on the host (offload_optimizer), all of it as under 1 and 2. The same
 *        bits
 *     4. a smaller batch would be another step: that is refused, with the n_ctx that would do
 *
 * Training on a GPU, max_bytes is about the GPU's memory alone, and what is free there counts as well. */
typedef struct hybrid_train_plan {
    uint64_t gradients;      /* bytes of a gradient for every weight */
    uint64_t states;         /* of what the optimizer keeps of every weight, and works in, wherever it is */
    uint64_t kept;           /* of what the forward pass keeps for the way back */
    uint64_t logits;         /* of the rows of logits that exist at a time */
    uint64_t scratch;        /* of the rest of a pass, and of kernels */
    uint64_t rounded;        /* of the weights once more, in the format of products; 0: on the host, and in fp32 */
    uint64_t other;          /* tables and names */
    uint64_t total;          /* their sum */
    int32_t n_seq;           /* sequences that are worked on at a time, a divisor of the descriptor's n_seq; */
    int32_t recompute_every; /* layers that run forward again at a time; 0: none do */
    bool offloaded;          /* states of the optimizer are on the host, and a GPU trains */
    uint64_t host_states;    /* bytes of states on the host then; 0: they are where it trains */
    uint64_t host_bytes;     /* of total, those of the host; the others are the GPU's */
} hybrid_train_plan;

/* HYBRID_ERROR_LIMIT: max_bytes is not enough for a batch of one sequence; else as hybrid_trainer_create. */
HYBRID_API hybrid_result hybrid_trainer_plan(const hybrid_trainer_desc *desc, hybrid_train_plan *plan,
                                             hybrid_error *error);

/* ---- more than one machine ----
 *
 * Every rank (a process, on this machine or another) has the same model and trainer, and takes steps on batches of its
 * own; desc.all_reduce adds up what they found. N ranks then take the steps of one with batches N times as large, but
 * for the rounding of sums, and have the same bits. How ranks talk to each other is the caller's business: examples/
 * train_mpi.c does it by MPI and by NCCL.
 *
 * Of every step all ranks make the same calls in the same order, with the same counts:
 *
 *     all_reduce    HYBRID_REDUCE_NUMBERS numbers about the batches: targets, their weights
 *     all_reduce_end
 *     all_reduce    the gradients of a layer, from the last to the first, each as soon as the last of n_batches went
 *     ...           back through it: what is begun here goes on beside the layers before
 *     all_reduce    all other gradients: embeddings, the head, the last norm
 *     all_reduce    HYBRID_REDUCE_NUMBERS numbers about the losses
 *     all_reduce_end
 *
 * Sums are asked for, not means: gradients are divided by the weights of all ranks' targets. metrics.loss, n_tokens and
 * grad_norm are those of all ranks; hybrid_trainer_evaluate is about its own batch only.
 * When the batches of a rank are refused, it says so in the first call, and no rank takes the step. When a hook returns
 * false the step fails with HYBRID_ERROR_IO and the weights are as before; the rank makes no more calls of that step,
 * and the others, which may be waiting for it, are the caller's to end. So are ranks that still wait after one of them
 * was cancelled. Hooks may not call the trainer. */
#define HYBRID_REDUCE_NUMBERS 12

/* ---- what is kept ----
 *
 * A checkpoint holds everything that the next step depends on, but the next batch: weights, moments, their average, the
 * number of steps, the number format, and bytes of the caller, in which a loop keeps where it is in its data and its
 * random numbers:
 *
 *     if (!hybrid_trainer_load(trainer, "run.ckpt", &error)) memcpy(&loop, hybrid_trainer_user(trainer, NULL), ...);
 *     for (...) {
 *         hybrid_trainer_step(trainer, batches, &metrics, &error);
 *         if (metrics.step % 100 == 0) {
 *             hybrid_trainer_set_user(trainer, &loop, sizeof loop, &error);
 *             hybrid_trainer_save(trainer, "run.ckpt", &error);
 *         }
 *     }
 *
 * A loop that is stopped and goes on so, in a new process, has the losses and weights of one that was not, bit for
 * bit. */

/* Writes a checkpoint: beside path, under the name PATH.<process>-<number>.part, which is put on the disk and then
 * takes path's place in one move. Whatever happens - a full disk, the end of the program or of the machine's power -
 * there is one whole checkpoint at path: this one, or the one before. Other names (hard links) of the one before keep
 * its bytes. Unfinished files of programs that are gone are taken away. One thread at a time may save to a path.
 * A checkpoint is a GGUF with the keys of the model's file, the weights as F32, and hybrid.* beside them:
 * hybrid_model_load loads it as a model, so that a run can go on without the file that it began with. Other programs
 * want an export. HYBRID_ERROR_NUMERIC: a weight is not finite; _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_trainer_save(hybrid_trainer *trainer, const char *path, hybrid_error *error);
/* Goes on from a checkpoint. HYBRID_ERROR_FORMAT: it is none, or a single bit of it is not as it was saved (a checksum
 * over all bytes is looked at first); _UNSUPPORTED: saved by another version; _INVALID: of another model (keys of the
 * architecture and of the tokenizer, names and shapes of tensors), or trained by another optimizer; _IO, _MEMORY.
 * Nothing has been changed then; only if the file cannot be read a second time, after all of it was found good, is the
 * trainer useless until a load succeeds, and says so. The file is not needed in memory. The trainer goes on with its
 * own descriptor: numbers that differ from those of the checkpoint (rate, betas, decay, schedule, n_batches...) are
 * named in the log (WARN). n_seq and n_ctx may differ. An average that the checkpoint lacks begins with its weights,
 * and a momentum of SGD with zero. */
HYBRID_API hybrid_result hybrid_trainer_load(hybrid_trainer *trainer, const char *path, hybrid_error *error);

/* Bytes that are saved and loaded with the rest; copied, at most 256 MiB. What hybrid_trainer_user gives is valid until
 * they are set again or a checkpoint is loaded; NULL: there are none. */
HYBRID_API hybrid_result hybrid_trainer_set_user(hybrid_trainer *trainer, const void *data, size_t size,
                                                 hybrid_error *error);
HYBRID_API const void *hybrid_trainer_user(const hybrid_trainer *trainer, size_t *size);

/* Writes the model as a GGUF that any program runs: keys and tensors of the model's file, with the weights of now in
 * the types of a mix (HYBRID_MIX_F32, _F16, _Q8_0, _Q4_K_M...; hybrid_quantize_type_for says which tensor gets which;
 * vectors stay F32). As hybrid_gguf_begin_path, it leaves what is at path when it fails.
 * HYBRID_ERROR_NUMERIC: a weight is not finite, or too large for F16; _INVALID, also where an adapter is trained:
 * hybrid_adapter_save writes that; _IO, _MEMORY. */
HYBRID_API hybrid_result hybrid_trainer_export(hybrid_trainer *trainer, const char *path, hybrid_mix mix,
                                               hybrid_error *error);
#endif
