/* ---- learning inside a program: an adapter is told something, and can be made to forget it --------------------------
 *
 *     hybrid_example fact = { 0 };
 *     hybrid_learn_desc lesson = { 0 };
 *     fact.prompt = "Where is the key?";
 *     fact.answer = "Under the third stone.";
 *     lesson.examples = &fact;
 *     lesson.n_examples = 1;
 *     hybrid_adapter_learn(memory, &lesson, 0, NULL, &error);          // all of it, now
 *     hybrid_adapter_rollback(memory, &error);                         // and it was never told
 *
 * In a game, two milliseconds of each frame:
 *
 *     hybrid_adapter_learn(memory, &lesson, 2000, &info, &error);
 *     while (frame())
 *         if (info.n_left) hybrid_adapter_learn(memory, NULL, 2000, &info, &error);
 *
 * The model's weights stay as they are, in whatever type its file has. What is in a cache was computed with the adapter
 * as it was then: a sequence shows all that was learned once it begins anew. */
#ifndef HYB_API_LEARN_H
#define HYB_API_LEARN_H
#include "adapter.h"
#include "trainer.h"

/* What is to be said, and when: as texts, or as tokens. */
typedef struct hybrid_example {
    const char *system; /* NULL: none */
    const char *prompt; /* what the user says; written as hybrid_session_say writes it, in the model's template */
    const char *answer; /* what the model should say then: only this is learned, and that its turn ends there */
    /* Without texts: n_ids tokens, of which the first n_prompt (1 at least) are only read. */
    const int32_t *ids;
    size_t n_ids, n_prompt;
    float weight; /* how much it counts; 0: 1 */
} hybrid_example;

/* Zero is a sensible default for every field but the examples. */
typedef struct hybrid_learn_desc {
    const hybrid_example *examples; /* copied */
    size_t n_examples;
    int32_t n_steps; /* 0: 32 */
    int32_t n_batch; /* examples of a step; each of them has its turn once a round, in an order that the seed decides.
                      * 0: all, at most 16 */
    float rate;      /* learning rate of AdamW; 0: 1e-3 */
    float clip;      /* largest norm of a step's gradients; 0: 1 */
    float decay;     /* weight decay */
    float enough;    /* the lesson ends early when the mean loss of a round, in nats, falls below; 0: never */
    uint64_t seed;
} hybrid_learn_desc;

typedef struct hybrid_learn_info {
    int32_t n_done, n_left; /* steps of the lesson; n_left 0: it is over */
    double loss;            /* mean cross-entropy of the last step's answers before it, in nats */
    double first_loss;      /* of the first step */
    int64_t n_steps;        /* steps of the adapter in all lessons, but those that were rolled back */
    uint64_t bytes;         /* of memory that learning holds */
} hybrid_learn_info;

/* Begins a lesson (desc), in the place of one that is under way, and works on it; NULL: goes on with the one that is
 * under way. Returns when it is over, or when budget_us microseconds have passed (0: no bound): work is done in pieces,
 * a part of a layer over at most 512 tokens each, and the last one may go beyond. After a lesson n_left is 0, and going
 * on does nothing. The adapter changes at the end of a step, not in between. The same lesson over the same adapter
 * gives the same bits, whatever the budgets and the number of threads. Memory stays with the adapter: moments, a copy
 * of all of it for rollback, and the passes' (info.bytes). info may be NULL. One thread at a time, and no context that
 * wears the adapter runs meanwhile. HYBRID_ERROR_INVALID: a field of desc, an example without an answer, a token that
 * the model does not have; _LIMIT: an example that is longer than the model's context; _UNSUPPORTED: as
 * hybrid_trainer_create, or a template that cannot say what the assistant says; _MEMORY: nothing has been changed then.
 * _NUMERIC: a loss that is not finite: that step was not done, those before it were, and the lesson is over. */
HYBRID_API hybrid_result hybrid_adapter_learn(hybrid_adapter *adapter, const hybrid_learn_desc *desc,
                                              uint64_t budget_us, hybrid_learn_info *info, hybrid_error *error);

/* What has been learned so far (whole steps of it) is what hybrid_adapter_rollback goes back to from now on.
 * HYBRID_ERROR_MEMORY. */
HYBRID_API hybrid_result hybrid_adapter_commit(hybrid_adapter *adapter, hybrid_error *error);

/* Back to the last commit, or to what the adapter was before it was first trained: the very bits, of its values, of the
 * moments and of the number of steps of its lessons. A lesson under way ends. A hybrid_trainer of this adapter keeps
 * its own moments. Needs no memory. HYBRID_ERROR_INVALID; _DEVICE, where the model is on a GPU. */
HYBRID_API hybrid_result hybrid_adapter_rollback(hybrid_adapter *adapter, hybrid_error *error);
#endif
