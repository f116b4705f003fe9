/* train/learn: an adapter learns inside a program: lessons step by step, piece by piece, and the way back.
 *
 * What is kept for the way back lies beside what is trained, laid out alike; commit writes it, rollback reads it:
 *
 *     adapter   values    kept
 *     trainer   store's states (m, v), step
 *     learner             kept_states, kept_step */
#ifndef HYB_TRAIN_LEARN_C
#define HYB_TRAIN_LEARN_C
#include "lesson.c"
#include "step.c"

struct hyb_pupil {
    hybrid_adapter *adapter;
    hybrid_runtime *rt;
    hybrid_trainer *trainer;
    float *kept_states; /* as many as the trainer's store has */
    int64_t kept_step;
    hyb_lesson *lesson; /* NULL: none was begun, or it was rolled back */
};

/* The states of a trainer, to the host's memory and from it. */
static hybrid_result hyb_pupil_read(hybrid_trainer *t, float *states, hybrid_error *error)
{
    return hyb_store_read_states(&t->store, t->objective->cut.real, states, 0, t->store.n_states, error);
}
static hybrid_result hyb_pupil_write(hybrid_trainer *t, const float *states, hybrid_error *error)
{
    return hyb_store_write_states(&t->store, t->objective->cut.real, 0, states, t->store.n_states, error);
}

/* ---- what an adapter has for learning ---------------------------------------------------------------------------- */

static void hyb_pupil_free(hyb_pupil *l)
{
    hybrid_trainer_destroy(l->trainer);
    hyb_lesson_free(l->lesson);
    hyb_free_aligned(l->rt, l->kept_states);
    hyb_free(l->rt, l);
}

/* The states of a trainer, and its steps, to another one: on the same device or not. */
static hybrid_result hyb_pupil_copy(hybrid_trainer *to, hybrid_trainer *from, hybrid_error *error)
{
    const size_t bytes = sizeof(float) * (size_t)from->store.n_states;
    float *states = (float *)hyb_alloc(from->rt, bytes + 1);
    hybrid_result r;
    if (!states) return hyb_fail_memory(error, bytes);
    r = hyb_pupil_read(from, states, error);
    if (!r) r = hyb_pupil_write(to, states, error);
    hyb_free(from->rt, states);
    to->step = from->step;
    return r;
}

/* A trainer with room for the batches of a lesson, and for those that `old` has room for (or NULL), whose moments it
 * takes over. */
static hybrid_result hyb_pupil_trainer(hybrid_adapter *a, const hyb_lesson *lesson, hybrid_trainer *old,
                                       hybrid_trainer **trainer, hybrid_error *error)
{
    hybrid_trainer_desc d;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    d.adapter = a;
    d.n_seq = hyb_lesson_n_seq(lesson);
    d.n_ctx = lesson->longest;
    if (old && old->desc.n_ctx > d.n_ctx) d.n_ctx = old->desc.n_ctx;
    if (old && (int64_t)old->desc.n_seq * d.n_ctx <= HYB_LESSON_ROWS) d.n_seq = HYB_MAX(d.n_seq, old->desc.n_seq);
    if ((r = hybrid_trainer_create(&d, trainer, error)) != HYBRID_OK || !old) return r;
    if ((r = hyb_pupil_copy(*trainer, old, error)) != HYBRID_OK) {
        hybrid_trainer_destroy(*trainer);
        *trainer = NULL;
    }
    return r;
}

/* All that an adapter needs for its first lesson; kept_states are zeros. */
static hybrid_result hyb_pupil_create(hybrid_adapter *a, const hyb_lesson *lesson, hyb_pupil **learner,
                                      hybrid_error *error)
{
    hyb_pupil *l = (hyb_pupil *)hyb_calloc(a->rt, 1, sizeof *l);
    size_t bytes;
    hybrid_result r;
    if (!l) return hyb_fail_memory(error, sizeof *l);
    l->adapter = a;
    l->rt = a->rt;
    if ((r = hyb_pupil_trainer(a, lesson, NULL, &l->trainer, error)) == HYBRID_OK) {
        bytes = sizeof(float) * (size_t)l->trainer->store.n_states;
        if (!(l->kept_states = (float *)hyb_alloc_aligned(l->rt, bytes))) r = hyb_fail_memory(error, bytes);
    }
    if (r) {
        hyb_pupil_free(l);
        return r;
    }
    memset(l->kept_states, 0, bytes);
    *learner = l;
    return HYBRID_OK;
}

/* Everything that can fail comes first. */
static hybrid_result hyb_pupil_begin(hybrid_adapter *a, const hybrid_learn_desc *desc, hybrid_error *error)
{
    hyb_pupil *l = a->learner;
    hyb_lesson *lesson;
    hybrid_trainer *trainer = NULL;
    hybrid_result r = hyb_lesson_create(a->rt, a->model, desc, &lesson, error);
    if (r) return r;
    if (!l)
        r = hyb_pupil_create(a, lesson, &l, error);
    else if (l->trainer->desc.n_seq < hyb_lesson_n_seq(lesson) || l->trainer->desc.n_ctx < lesson->longest)
        r = hyb_pupil_trainer(a, lesson, l->trainer, &trainer, error);
    if (r) {
        hyb_lesson_free(lesson);
        return r;
    }
    a->learner = l;
    a->learner_free = hyb_pupil_free;
    if (trainer) {
        hybrid_trainer_destroy(l->trainer);
        l->trainer = trainer;
    }
    hyb_lesson_free(l->lesson);
    l->lesson = lesson;
    l->trainer->now.stage = HYB_STEP_NONE;
    l->trainer->desc.rate = lesson->desc.rate;
    l->trainer->desc.clip = lesson->desc.clip;
    l->trainer->desc.decay = lesson->desc.decay;
    return HYBRID_OK;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

/* Works on the step of a lesson that is not over. */
static hybrid_result hyb_pupil_work(hyb_pupil *l, uint64_t budget_us, hybrid_error *error)
{
    hybrid_trainer *t = l->trainer;
    hybrid_result r;
    if (t->now.stage == HYB_STEP_NONE) {
        hyb_lesson_next(l->lesson);
        t->desc.n_batches = l->lesson->n_batches;
    }
    r = hyb_step_slice(t, l->lesson->batches, budget_us, error);
    if (!r && t->now.stage == HYB_STEP_NONE) hyb_lesson_done(l->lesson, t->now.metrics.loss);
    if (r) l->lesson->desc.n_steps = l->lesson->done; /* it would fail again */
    return r;
}

static void hyb_pupil_describe(const hyb_pupil *l, hybrid_learn_info *info)
{
    memset(info, 0, sizeof *info);
    info->n_steps = l->trainer->step;
    info->bytes = l->trainer->plan.total + sizeof(float) * (uint64_t)l->trainer->store.n_states;
    if (!l->lesson) return;
    info->n_done = l->lesson->done;
    info->n_left = l->lesson->desc.n_steps - l->lesson->done;
    info->loss = l->lesson->loss;
    info->first_loss = l->lesson->first_loss;
}

/* Refuses a call from within a callback of another. */
static hybrid_result hyb_adapter_unused(const hybrid_adapter *a, const char *function, hybrid_error *error)
{
    if (!a) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: adapter is NULL", function);
    if (!hyb_busy(a->in_use)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the adapter is in use: one of its callbacks called it again",
                    function);
}

static hybrid_result hyb_pupil_learn(hybrid_adapter *a, const hybrid_learn_desc *desc, uint64_t budget_us,
                                     hybrid_error *error)
{
    const uint64_t since = hyb_now_us();
    hybrid_result r = desc ? hyb_pupil_begin(a, desc, error) : HYBRID_OK;
    hyb_lesson *lesson = a->learner ? a->learner->lesson : NULL;
    if (r) return r;
    if (!lesson)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_learn: desc is NULL, and no lesson was begun");
    while (!r && lesson->done < lesson->desc.n_steps) {
        const uint64_t took = hyb_now_us() - since;
        if (budget_us && took >= budget_us) break;
        r = hyb_pupil_work(a->learner, budget_us ? budget_us - took : UINT64_MAX, error);
    }
    return r;
}

HYB_BORDER(hybrid_result, hybrid_adapter_learn,
           (hybrid_adapter *adapter, const hybrid_learn_desc *desc, uint64_t budget_us, hybrid_learn_info *info,
            hybrid_error *error),
           (adapter, desc, budget_us, info, error))
{
    hybrid_result r = hyb_adapter_unused(adapter, "hybrid_adapter_learn", error);
    if (r) return r;
    adapter->in_use = hyb_process();
    r = hyb_pupil_learn(adapter, desc, budget_us, error);
    adapter->in_use = 0;
    if (info && !r) hyb_pupil_describe(adapter->learner, info);
    return r;
}

/* ---- the way back ------------------------------------------------------------------------------------------------ */

HYB_BORDER(hybrid_result, hybrid_adapter_commit, (hybrid_adapter *adapter, hybrid_error *error), (adapter, error))
{
    hybrid_result r = hyb_adapter_unused(adapter, "hybrid_adapter_commit", error);
    hyb_pupil *l;
    if (r) return r;
    adapter->in_use = hyb_process();
    r = hyb_adapter_keep(adapter, error);
    if (!r && (l = adapter->learner) != NULL && (r = hyb_pupil_read(l->trainer, l->kept_states, error)) == HYBRID_OK)
        l->kept_step = l->trainer->step;
    adapter->in_use = 0;
    if (!r) memcpy(adapter->kept, adapter->values, adapter->n_values * sizeof(float));
    return r;
}

HYB_BORDER(hybrid_result, hybrid_adapter_rollback, (hybrid_adapter *adapter, hybrid_error *error), (adapter, error))
{
    hybrid_result r = hyb_adapter_unused(adapter, "hybrid_adapter_rollback", error);
    hyb_pupil *l;
    if (r) return r;
    if (!adapter->kept) return HYBRID_OK; /* it is as it was made */
    memcpy(adapter->values, adapter->kept, adapter->n_values * sizeof(float));
    if ((l = adapter->learner) != NULL) {
        r = hyb_pupil_write(l->trainer, l->kept_states, error);
        l->trainer->step = l->kept_step;
        l->trainer->now.stage = HYB_STEP_NONE;
        hyb_lesson_free(l->lesson);
        l->lesson = NULL;
    }
    return r ? r : hyb_adapter_changed(adapter, error);
}
#endif
