/* train/trainer: the weights of a model, their gradients and their moments, and the step that goes over all of them.
 *
 * Weights are the model's own memory. Gradients and moments are laid out alike, so a parameter is the same `at` in all
 * four:
 *
 *     weights  | token_embd | attn_norm 0 | attn_q 0 | ...
 *     grads    | token_embd | attn_norm 0 | attn_q 0 | ...
 *     m, v     | token_embd | attn_norm 0 | attn_q 0 | ... */
#ifndef HYB_TRAIN_TRAINER_C
#define HYB_TRAIN_TRAINER_C
#include "../api/trainer.h"
#include "../core/lifetime.c"
#include "../model/backward.c"
#include "../model/model.c"
#include "schedule.c"

/* A tensor that is trained: n values at `at` of each of the four. */
typedef struct hyb_param {
    hybrid_string name; /* of the model's file */
    int64_t at, n;
    bool decays;
} hyb_param;

struct hybrid_trainer {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_trainer_desc desc;
    hyb_train_shape shape;
    hyb_device host;
    hyb_forward forward;
    hyb_train_memory memory;
    void *block; /* of memory */
    hyb_param *params;
    int n_params;
    int64_t n_values; /* of each of the four */
    float *weights, *grads, *m, *v;
    int64_t step;
    unsigned char *user; /* the caller's bytes, which go with the checkpoints */
    size_t user_size;
    bool torn; /* a checkpoint was read in part: nothing can be done but to read one */
};

/* ---- create ---- */

enum { HYB_TRAIN_ROWS = 1 << 24 }; /* of a batch: their number times any width is no overflow in 64 bits */

static hybrid_result hyb_trainer_defaults(const hybrid_trainer_desc *from, hybrid_trainer_desc *d, hybrid_error *error)
{
    const hyb_hparams *hp = &from->model->hp;
    *d = *from;
    if (!d->n_seq) d->n_seq = 4;
    if (!d->n_ctx) d->n_ctx = HYB_MIN(hp->n_ctx_train, 256);
    if (!d->n_batches) d->n_batches = 1;
    if (d->rate == 0) d->rate = 3e-4f;
    if (d->beta1 == 0) d->beta1 = 0.9f;
    if (d->beta2 == 0) d->beta2 = 0.95f;
    if (d->eps == 0) d->eps = 1e-8f;
    if (d->n_seq < 1 || d->n_ctx < 1 || d->n_batches < 1 || d->n_seq > 65535 || d->n_ctx > (1 << 20))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: n_seq %d, n_ctx %d and n_batches %d must be at least 1, n_seq at most "
                        "65535, n_ctx at most 1048576",
                        d->n_seq, d->n_ctx, d->n_batches);
    if (d->recompute_every < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: recompute_every is %d: it must be a number of layers, or 0",
                        d->recompute_every);
    if ((hp->arch->has & HYB_HAS_POS_EMBD) && d->n_ctx > hp->n_ctx_train)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx,
                        hp->n_ctx_train);
    if ((int64_t)d->n_seq * d->n_ctx > HYB_TRAIN_ROWS)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "a batch of %d sequences of %d tokens is too large: %d tokens at most; more can be added up by "
                        "n_batches",
                        d->n_seq, d->n_ctx, (int)HYB_TRAIN_ROWS);
    if (!(d->rate > 0) || !(d->beta1 >= 0 && d->beta1 < 1) || !(d->beta2 >= 0 && d->beta2 < 1) || !(d->eps > 0) ||
        !(d->decay >= 0) || !(d->clip >= 0) || !(d->rate_end >= 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: rate %g and eps %g must be positive, beta1 %g and beta2 %g below 1, "
                        "decay %g, clip %g and rate_end %g not negative",
                        (double)d->rate, (double)d->eps, (double)d->beta1, (double)d->beta2, (double)d->decay,
                        (double)d->clip, (double)d->rate_end);
    return hyb_schedule_check(d, error);
}

static hybrid_result hyb_trainer_check(const hybrid_trainer_desc *desc, hybrid_error *error)
{
    const hybrid_model *m = desc->model;
    const hyb_part *part;
    int layer;
    if (!m) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: desc->model is NULL");
    if (!m->trainable)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the model's weights cannot be changed: load it with hybrid_model_desc.trainable");
    if ((part = hyb_untrainable(&m->hp, &m->net, &layer)) != NULL)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "layer %d of the model is of a kind that cannot be trained yet: %s", layer, part->name);
    if (m->net.embd_norm)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the model has a norm of its embeddings, which cannot be trained yet");
    return HYBRID_OK;
}

static bool hyb_trainer_trains(const hybrid_model *m, hyb_weight i)
{
    const hyb_net *net = &m->net;
    return !m->weights.tensors[i].same_as && i != net->rope_freqs && i != net->rope_long && i != net->rope_short;
}

/* The table of parameters, and the four arrays. */
static hybrid_result hyb_trainer_params(hybrid_trainer *t, hybrid_error *error)
{
    const hyb_weights *w = &t->model->weights;
    const size_t bytes = w->owned_bytes; /* a multiple of 64 */
    size_t all = SIZE_MAX;
    int32_t i;
    t->weights = (float *)(void *)w->owned;
    t->n_values = (int64_t)(bytes / sizeof(float));
    if (!(t->params = (hyb_param *)hyb_calloc(t->rt, (size_t)w->n_tensors, sizeof *t->params)))
        return hyb_fail_memory(error, (size_t)w->n_tensors * sizeof *t->params);
    for (i = 1; i < w->n_tensors; i++) {
        const hyb_tensor *tensor = &w->tensors[i];
        hyb_param *p = &t->params[t->n_params];
        if (!hyb_trainer_trains(t->model, i)) continue;
        p->name = hyb_weights_source(t->model->gguf, tensor)->name;
        p->at = (const float *)tensor->data - t->weights;
        p->n = (int64_t)(hyb_weight_bytes(tensor) / sizeof(float));
        p->decays = !tensor->is_vector || t->desc.decay_vectors;
        t->n_params++;
    }
    if (!hyb_mul_size(3, bytes, &all) || !(t->grads = (float *)hyb_alloc_aligned(t->rt, all)))
        return hyb_fail_memory(error, all);
    memset(t->grads, 0, all);
    t->m = t->grads + t->n_values;
    t->v = t->m + t->n_values;
    return HYBRID_OK;
}

/* Whether the bytes of a pass can be counted at all: with addresses of 32 bits they may not. */
static bool hyb_trainer_countable(const hyb_hparams *hp, const hyb_train_shape *shape)
{
    const hyb_train_shape some = { 1, 1024, shape->every },
                          more = { 1, 2048, shape->every }; /* beyond the rows of logits, all grows evenly */
    const int pages = (shape->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    hyb_train_memory m;
    const double a = (double)hyb_train_layout(&m, hp, &some, NULL), b = (double)hyb_train_layout(&m, hp, &more, NULL);
    return b > a && b + (b - a) / 1024 * (double)HYB_PAGE * pages * shape->n_seq < (double)(SIZE_MAX / 2);
}

static hybrid_result hyb_trainer_memory(hybrid_trainer *t, hybrid_error *error)
{
    hybrid_model *m = t->model;
    const hyb_hparams *hp = &m->hp;
    hyb_forward *f = &t->forward;
    hyb_stage *stage = &f->stages[0];
    const size_t bytes = hyb_train_layout(&t->memory, hp, &t->shape, NULL);
    hybrid_context_desc d;
    hyb_limits limits;
    hybrid_result r;
    if (!hyb_trainer_countable(hp, &t->shape)) return hyb_fail_memory(error, SIZE_MAX);
    if ((r = t->host.ops->alloc(&t->host, bytes, &t->block, error)) != HYBRID_OK) return r;
    hyb_train_layout(&t->memory, hp, &t->shape, (char *)t->block);
    t->memory.back.weights = t->weights;
    t->memory.back.grads = t->grads;
    f->hp = hp;
    f->net = &m->net;
    f->tensors = m->weights.tensors;
    f->n_stages = 1;
    f->state = t->memory.state;
    f->kept = t->memory.kept;
    f->back = &t->memory.back;
    stage->device = &t->host;
    stage->layer_end = hp->n_layer;
    stage->a = t->memory.base;
    if ((r = hyb_stage_rope(stage, hp, &m->net, m->weights.tensors, t->shape.n_ctx, error)) != HYBRID_OK) return r;
    hyb_train_rope_scale(&t->memory, hp, &stage->a);
    memset(&d, 0, sizeof d);
    d.n_ctx = t->shape.n_ctx;
    d.n_seq = t->shape.n_seq;
    d.n_batch = t->shape.n_ctx * t->shape.n_seq;
    d.n_logits = d.n_batch;
    if ((r = hyb_limits_of(&t->host, &m->net, &m->weights, hp, &d, &limits, error)) != HYBRID_OK) return r;
    limits.n_train = t->shape.n_ctx;
    return t->host.ops->backend_create(&t->host, &limits, &stage->be, error);
}

HYB_BORDER_VOID(hybrid_trainer_destroy, (hybrid_trainer *trainer), (trainer))
{
    hybrid_runtime *rt;
    if (!trainer) return;
    rt = trainer->rt;
    if (trainer->forward.stages[0].be) trainer->forward.stages[0].be->ops->destroy(trainer->forward.stages[0].be);
    if (trainer->block) trainer->host.ops->free(&trainer->host, trainer->block);
    hyb_free_aligned(rt, trainer->grads);
    hyb_free(rt, trainer->params);
    hyb_free(rt, trainer->user);
    hyb_free(rt, trainer);
    hyb_runtime_release(rt);
}

HYB_BORDER(hybrid_result, hybrid_trainer_create,
           (const hybrid_trainer_desc *desc, hybrid_trainer **trainer, hybrid_error *error), (desc, trainer, error))
{
    hybrid_trainer *t;
    hybrid_runtime *rt;
    hybrid_trainer_desc d;
    hybrid_result r;
    if (trainer) *trainer = NULL;
    if (!desc || !trainer)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: %s is NULL", desc ? "trainer" : "desc");
    if ((r = hyb_trainer_check(desc, error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_defaults(desc, &d, error)) != HYBRID_OK) return r;
    if ((r = hyb_runtime_retain(desc->model->rt, &rt, error)) != HYBRID_OK) return r;
    if (!(t = (hybrid_trainer *)hyb_calloc(rt, 1, sizeof *t))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *t);
    }
    t->rt = rt;
    t->model = desc->model;
    t->desc = d;
    t->shape.n_seq = d.n_seq;
    t->shape.n_ctx = d.n_ctx;
    t->shape.every = d.recompute_every;
    hyb_host_device(&t->host, rt);
    r = hyb_trainer_params(t, error);
    if (!r) r = hyb_trainer_memory(t, error);
    if (r) {
        hybrid_trainer_destroy(t);
        return r;
    }
    *trainer = t;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_trainer_describe, (const hybrid_trainer *trainer, hybrid_trainer_desc *desc), (trainer, desc))
{
    if (!desc) return;
    memset(desc, 0, sizeof *desc);
    if (trainer) *desc = trainer->desc;
}

/* ---- step ---- */

static hybrid_result hyb_trainer_ready(const hybrid_trainer *t, const char *function, hybrid_error *error)
{
    if (!t->torn) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s: loading a checkpoint failed halfway, so the weights are a mixture of two: load one again",
                    function);
}

/* The targets of a batch that count, and the sum of their weights. */
static hybrid_result hyb_trainer_look(const hybrid_trainer *t, const hybrid_train_batch *batch, int64_t *n_counted,
                                      double *weight, hybrid_error *error)
{
    const int n = t->shape.n_seq * t->shape.n_ctx, n_vocab = t->model->hp.n_vocab;
    int i;
    if (!batch->ids || !batch->targets)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a batch has no %s", batch->ids ? "targets" : "ids");
    for (i = 0; i < n; i++) {
        if (batch->ids[i] < 0 || batch->ids[i] >= n_vocab || batch->targets[i] >= n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "token %d of sequence %d is %d, and its target %d; the model has tokens 0 to %d",
                            i % t->shape.n_ctx, i / t->shape.n_ctx, batch->ids[i], batch->targets[i], n_vocab - 1);
        if (batch->targets[i] < 0) continue;
        if (batch->weights && !(batch->weights[i] >= 0 && batch->weights[i] < HUGE_VALF))
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "the weight of target %d of sequence %d is %g: weights must be finite and not negative",
                            i % t->shape.n_ctx, i / t->shape.n_ctx, (double)batch->weights[i]);
        ++*n_counted;
        *weight += batch->weights ? (double)batch->weights[i] : 1;
    }
    return HYBRID_OK;
}

/* Forward and loss of one batch, and its gradients, added to those that are there. */
static hybrid_result hyb_trainer_batch(hybrid_trainer *t, const hybrid_train_batch *from, double factor, bool backward,
                                       double *loss, hybrid_error *error)
{
    hyb_backend *be = t->forward.stages[0].be;
    hyb_train_want want;
    hyb_train_pass pass;
    hybrid_result r;
    int i;
    want.ids = from->ids;
    want.targets = from->targets;
    want.weights = from->weights;
    want.factor = factor;
    want.backward = backward;
    hyb_train_begin(&pass, &t->forward, &t->memory, &t->shape, &want);
    while (hyb_train_work(&pass)) {}
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    for (i = 0; i < pass.batch.n; i++) *loss += t->memory.loss[i];
    return HYBRID_OK;
}

/* The norm of all gradients. */
static double hyb_trainer_norm(hybrid_trainer *t)
{
    hyb_backend *be = t->forward.stages[0].be;
    hyb_op_squares op;
    double sum = 0, squares;
    int i;
    for (i = 0; i < t->n_params; i++) {
        op.x = t->grads + t->params[i].at;
        op.n = t->params[i].n;
        op.sum = &squares;
        hyb_do_squares(be, &op);
        sum += squares;
    }
    return sqrt(sum);
}

static void hyb_trainer_update(hybrid_trainer *t, double rate, double factor)
{
    const hybrid_trainer_desc *d = &t->desc;
    const double time = (double)t->step + 1;
    hyb_op_adamw op;
    int i;
    op.factor = (float)factor;
    op.rate = (float)rate;
    op.beta1 = d->beta1;
    op.beta2 = d->beta2;
    op.c1 = (float)(1 / (1 - pow((double)d->beta1, time)));
    op.c2 = (float)(1 / (1 - pow((double)d->beta2, time)));
    op.eps = d->eps;
    for (i = 0; i < t->n_params; i++) {
        const hyb_param *p = &t->params[i];
        op.w = t->weights + p->at;
        op.m = t->m + p->at;
        op.v = t->v + p->at;
        op.grad = t->grads + p->at;
        op.n = p->n;
        op.decay = p->decays ? d->decay : 0;
        hyb_do_adamw(t->forward.stages[0].be, &op);
    }
}

HYB_BORDER(hybrid_result, hybrid_trainer_step,
           (hybrid_trainer *trainer, const hybrid_train_batch *batches, hybrid_train_metrics *metrics,
            hybrid_error *error),
           (trainer, batches, metrics, error))
{
    hybrid_trainer *t = trainer;
    const uint64_t since = hyb_now_ns();
    int64_t n_counted = 0;
    double weight = 0, loss = 0, norm, rate;
    hybrid_result r = HYBRID_OK;
    int i;
    if (!t || !batches)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_step: %s is NULL", t ? "batches" : "trainer");
    if ((r = hyb_trainer_ready(t, "hybrid_trainer_step", error)) != HYBRID_OK) return r;
    for (i = 0; i < t->desc.n_batches && !r; i++) r = hyb_trainer_look(t, &batches[i], &n_counted, &weight, error);
    if (r) return r;
    if (!(weight > 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a step without targets that count: nothing can be learned of it");
    memset(t->grads, 0, sizeof *t->grads * (size_t)t->n_values);
    for (i = 0; i < t->desc.n_batches && !r; i++) r = hyb_trainer_batch(t, &batches[i], 1 / weight, true, &loss, error);
    if (r) return r;
    loss /= (double)n_counted;
    norm = hyb_trainer_norm(t);
    if (!(norm < (double)HUGE_VALF) || !(loss < (double)HUGE_VALF))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "step %lld was not done: the loss is %g and the norm of its gradients %g; a smaller learning "
                        "rate, or clipping, may help",
                        (long long)t->step + 1, loss, norm);
    rate = hyb_schedule_rate(&t->desc, t->step);
    hyb_trainer_update(t, rate, t->desc.clip > 0 && norm > (double)t->desc.clip ? (double)t->desc.clip / norm : 1);
    t->step++;
    if (!metrics) return HYBRID_OK;
    metrics->step = t->step;
    metrics->n_tokens = n_counted;
    metrics->loss = loss;
    metrics->grad_norm = norm;
    metrics->rate = rate;
    metrics->seconds = (double)(hyb_now_ns() - since) * 1e-9;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_trainer_evaluate,
           (hybrid_trainer *trainer, const hybrid_train_batch *batch, double *loss, hybrid_error *error),
           (trainer, batch, loss, error))
{
    int64_t n_counted = 0;
    double weight = 0, sum = 0;
    hybrid_result r;
    if (!trainer || !batch || !loss)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_evaluate: trainer, batch or loss is NULL");
    if ((r = hyb_trainer_ready(trainer, "hybrid_trainer_evaluate", error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_look(trainer, batch, &n_counted, &weight, error)) != HYBRID_OK) return r;
    if (!n_counted) return hyb_fail(error, HYBRID_ERROR_INVALID, "a batch without targets that count has no loss");
    if ((r = hyb_trainer_batch(trainer, batch, 0, false, &sum, error)) != HYBRID_OK) return r;
    *loss = sum / (double)n_counted;
    return HYBRID_OK;
}
#endif
