/* train/transformer: the built-in objective: the loss and the gradients of a model that was loaded to be trained. */
#ifndef HYB_TRAIN_TRANSFORMER_C
#define HYB_TRAIN_TRANSFORMER_C
#include "../model/backward.c"
#include "../model/model.c"
#include "objective.c"

typedef struct hyb_transformer {
    hyb_objective base; /* first: an objective is one */
    hybrid_runtime *rt;
    hybrid_model *model;
    hyb_adapter_set set;   /* the adapter that is trained, or none */
    hyb_train_shape shape; /* of a part of a batch: all that there is memory for */
    int n_parts;           /* of equal size */
    const hyb_store *store;
    hyb_device *device; /* where it computes */
    hyb_forward forward;
    hyb_train_memory memory;
    void *block;      /* of memory, on the device; */
    void *host_block; /* and the host's part of it, where the device is another */
    void *rounded;    /* the weights once more, in the format of products; NULL: products round what they read */
    /* the batch that is worked on: */
    hybrid_train_batch batch; /* its sizes are set */
    double factor;
    bool backward;
    int part;
    hyb_train_pass pass; /* over the part */
    double loss;         /* of the parts that are done */
    hybrid_result result;
    hybrid_error error; /* of result */
} hyb_transformer;

static hyb_transformer *hyb_transformer_of(hyb_objective *o) { return (hyb_transformer *)(void *)o; }

/* ---- create ------------------------------------------------------------------------------------------------------ */

/* Rows of a batch: their number times any width does not overflow 64 bits. A grid of blocks has as many rows. */
enum { HYB_TRAIN_ROWS = 1 << 24, HYB_TRAIN_ROWS_GPU = 65535 };

/* adapter: what is trained, or NULL. */
static hybrid_result hyb_transformer_check(const hybrid_model *m, const hybrid_adapter *adapter, hybrid_error *error)
{
    if (!m) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_create: desc->model is NULL");
    if (adapter && adapter->model != m)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: desc->adapter was made for another model than desc->model");
    if (!m->trainable && !adapter)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the model's weights cannot be changed: load it with hybrid_model_desc.trainable, or train an "
                        "adapter");
    return HYBRID_OK;
}

/* The sizes of a batch, with defaults for zeros. */
static hybrid_result hyb_transformer_sizes(const hybrid_model *m, hybrid_trainer_desc *d, hybrid_error *error)
{
    const hyb_hparams *hp = &m->hp;
    if (!d->n_seq) d->n_seq = 4;
    if (!d->n_ctx) d->n_ctx = HYB_MIN(hp->n_ctx_train, 256);
    if (d->n_seq < 1 || d->n_ctx < 1 || d->n_seq > 65535 || d->n_ctx > (1 << 20))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: n_seq %d and n_ctx %d must be at least 1, n_seq at most 65535, n_ctx "
                        "at most 1048576",
                        d->n_seq, d->n_ctx);
    if (d->recompute_every < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainer_create: recompute_every is %d: it must be a number of layers, or 0",
                        d->recompute_every);
    if ((hp->arch->has & HYB_HAS_POS_EMBD) && d->n_ctx > hp->n_ctx_train)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx,
                        hp->n_ctx_train);
    if (m->place.trained && (int64_t)d->n_seq * d->n_ctx > HYB_TRAIN_ROWS_GPU)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "a batch of %d sequences of %d tokens is too large for a GPU: %d tokens at most; more can be "
                        "added up by n_batches",
                        d->n_seq, d->n_ctx, (int)HYB_TRAIN_ROWS_GPU);
    if ((int64_t)d->n_seq * d->n_ctx > HYB_TRAIN_ROWS)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "a batch of %d sequences of %d tokens is too large: %d tokens at most; more can be added up by "
                        "n_batches",
                        d->n_seq, d->n_ctx, (int)HYB_TRAIN_ROWS);
    return HYBRID_OK;
}

/* Where a model is trained: where its weights are, the GPU or the host. An adapter over it: on a GPU that has all of
 * them. */
static hyb_device *hyb_transformer_device(hybrid_model *m, const hybrid_adapter *adapter)
{
    const bool all = m->place.gpu && m->place.embd && !m->place.first;
    return m->place.trained || (adapter && adapter->gpu && all) ? m->place.gpu : &m->host;
}

/* The host's copy of the weights becomes what they are on the GPU. */
static hybrid_result hyb_transformer_fetch(hybrid_model *m, hyb_backend *be, hybrid_error *error)
{
    if (!m || !m->place.trained) return HYBRID_OK;
    be->ops->read(be, m->weights.owned, m->place.block, m->weights.owned_bytes);
    return be->ops->sync(be, error);
}

static bool hyb_transformer_trains(const hybrid_model *m, hyb_weight i)
{
    const hyb_net *net = &m->net;
    return !m->weights.tensors[i].same_as && i != net->rope_freqs && i != net->rope_long && i != net->rope_short;
}

static hyb_group hyb_transformer_group(const hybrid_model *m, hyb_weight i)
{
    const hyb_net *net = &m->net;
    if (m->weights.tensors[i].is_vector) return HYB_GROUP_VECTOR;
    if (m->weights.tensors[i].ne[2] > 1) return HYB_GROUP_TABLE;
    return i == net->embd || i == net->pos_embd || i == net->head ? HYB_GROUP_TABLE : HYB_GROUP_MATRIX;
}

/* Its family, by its name, of adapters too: embeddings, queries, keys, values, outputs, feed forward in and out, a head
 * of its own. */
static int hyb_transformer_family(hybrid_string name)
{
    static const char *const parts[] = { "token_embd.", "position_embd.", "attn_q",   "attn_k",  "attn_v",
                                         "attn_output", "ffn_up",         "ffn_gate", "ffn_down", "output." };
    static const int families[] = { 0, 0, 1, 2, 3, 4, 5, 5, 6, 7 };
    size_t i, k, n;
    for (i = 0; i < HYB_COUNT(parts); i++)
        for (n = strlen(parts[i]), k = 0; k + n <= name.size; k++)
            if (!memcmp(name.data + k, parts[i], n)) return families[i];
    return 0;
}

/* Of all matrices and tables. */
static void hyb_transformer_families(hyb_store *s)
{
    int i;
    for (i = 0; i < s->n_params; i++)
        if (s->params[i].group != HYB_GROUP_VECTOR) s->params[i].family = hyb_transformer_family(s->params[i].name);
}

/* The table of a model's parameters: every tensor that it computes with, in its own memory. */
static hybrid_result hyb_transformer_params(hyb_store *s, hybrid_runtime *rt, hyb_device *device, const hybrid_model *m,
                                            hybrid_error *error)
{
    const hyb_weights *w = &m->weights;
    const float *host = (const float *)(const void *)w->owned; /* laid out as what is trained */
    float *weights = m->place.trained ? (float *)m->place.block : (float *)(void *)w->owned;
    int32_t i;
    hybrid_result r =
        hyb_store_begin(s, rt, device, weights, (int64_t)(w->owned_bytes / sizeof(float)), (size_t)w->n_tensors, error);
    if (r) return r;
    for (i = 1; i < w->n_tensors; i++) {
        const hyb_tensor *t = &w->tensors[i];
        const int64_t n = (int64_t)(hyb_weight_bytes(t) / sizeof(float)), cols = t->is_vector ? n : t->ne[0];
        if (hyb_transformer_trains(m, i))
            hyb_store_add(s, hyb_weights_source(m->gguf, t)->name, (const float *)t->data - host, n / cols, cols,
                          hyb_transformer_group(m, i));
    }
    hyb_transformer_families(s);
    return HYBRID_OK;
}

/* That of an adapter: every A and B, "blk.0.attn_q.weight.lora_a". */
static hybrid_result hyb_transformer_pairs(hyb_store *s, hybrid_runtime *rt, hyb_device *device,
                                           const hybrid_adapter *adapter, hybrid_error *error)
{
    enum { ROOM = 8 }; /* of ".lora_a" */
    const hybrid_model *m = adapter->model;
    const size_t n = (size_t)adapter->n_pairs;
    size_t bytes = 0;
    char *name;
    int32_t i, b;
    float *values = device->ops->is_host ? adapter->values : (float *)adapter->gpu_values;
    hybrid_result r = hyb_store_begin(s, rt, device, values, (int64_t)adapter->n_values, 2 * n, error);
    if (r) return r;
    for (i = 0; i < adapter->n_pairs; i++)
        bytes += 2 * (hyb_weights_source(m->gguf, &m->weights.tensors[adapter->pairs[i].w])->name.size + ROOM);
    if (!(s->names = name = (char *)hyb_alloc(rt, bytes))) return hyb_fail_memory(error, bytes);
    s->name_bytes = bytes;
    for (i = 0; i < adapter->n_pairs; i++)
        for (b = 0; b < 2; b++) {
            const hyb_adapter_pair *p = &adapter->pairs[i];
            const hybrid_string of = hyb_weights_source(m->gguf, &m->weights.tensors[p->w])->name;
            const hyb_tensor *t = b ? &p->b : &p->a;
            hybrid_string as;
            memcpy(name, of.data, of.size);
            memcpy(name + of.size, b ? ".lora_b" : ".lora_a", ROOM);
            as.data = name;
            as.size = of.size + ROOM - 1;
            hyb_store_add(s, as, (int64_t)(b ? p->b_at : p->a_at), t->ne[1] * t->ne[2], t->ne[0],
                          t->ne[2] > 1 ? HYB_GROUP_TABLE : HYB_GROUP_MATRIX);
            name += as.size + 1;
        }
    hyb_transformer_families(s);
    return HYBRID_OK;
}

/* The first layer that it changes. */
static int hyb_adapter_first_layer(const hybrid_adapter *adapter)
{
    const hyb_net *net = &adapter->model->net;
    int layer = adapter->model->hp.n_layer - 1;
    int32_t i;
    for (i = 0; i < adapter->n_pairs; i++)
        while (layer && adapter->pairs[i].w < net->layers[layer].first) layer--;
    return layer;
}

/* Whether the bytes of a pass can be counted at all: with addresses of 32 bits they may not. */
static bool hyb_transformer_countable(const hyb_hparams *hp, const hyb_train_shape *shape)
{
    /* beyond the rows of logits, all grows evenly */
    const hyb_train_shape some = { 1, 1024, shape->every, shape->rank, shape->operands };
    const hyb_train_shape more = { 1, 2048, shape->every, shape->rank, shape->operands };
    const int pages = (shape->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    hyb_train_memory m;
    const double a = (double)hyb_train_layout(&m, hp, &some, NULL, NULL);
    const double b = (double)hyb_train_layout(&m, hp, &more, NULL, NULL);
    return b > a && b + (b - a) / 1024 * (double)HYB_PAGE * pages * shape->n_seq < (double)(SIZE_MAX / 2);
}

/* What is asked of the back end. */
static hybrid_result hyb_transformer_limits(const hybrid_model *m, hyb_device *device, const hyb_train_shape *shape,
                                            hyb_limits *limits, hybrid_error *error)
{
    hybrid_context_desc d;
    memset(&d, 0, sizeof d);
    d.n_ctx = shape->n_ctx;
    d.n_seq = shape->n_seq;
    d.n_batch = shape->n_ctx * shape->n_seq;
    d.n_logits = d.n_batch;
    d.adapter_rank = shape->rank;
    return hyb_limits_of_training(device, &m->net, &m->weights, &m->hp, &d, shape->operands, limits, error);
}

/* The memory of a pass: in one block, or in two where the device is not the host. */
static hybrid_result hyb_transformer_blocks(hyb_transformer *t, hybrid_error *error)
{
    hyb_device *device = t->device;
    const hyb_hparams *hp = &t->model->hp;
    const size_t bytes = hyb_train_layout(&t->memory, hp, &t->shape, NULL, NULL);
    const size_t host = device->ops->is_host ? 0 : t->memory.host_bytes;
    hybrid_result r;
    if (host && !(t->host_block = hyb_alloc_aligned(t->rt, host))) return hyb_fail_memory(error, host);
    if ((r = device->ops->alloc(device, bytes - host, &t->block, error)) != HYBRID_OK) return r;
    hyb_train_layout(&t->memory, hp, &t->shape, (char *)t->block - host, (char *)t->host_block);
    return HYBRID_OK;
}

/* A back end for passes over a shape. */
static hybrid_result hyb_transformer_backend(hyb_transformer *t, const hyb_train_shape *shape, hyb_backend **be,
                                             hybrid_error *error)
{
    hyb_limits limits;
    const hybrid_result r = hyb_transformer_limits(t->model, t->device, shape, &limits, error);
    return r ? r : t->device->ops->backend_create(t->device, &limits, be, error);
}

static hybrid_result hyb_transformer_memory(hyb_transformer *t, const hyb_store *store, hybrid_error *error)
{
    hybrid_model *m = t->model;
    const hyb_hparams *hp = &m->hp;
    hyb_forward *f = &t->forward;
    hyb_stage *stage = &f->stages[0];
    hyb_backend *be;
    hybrid_result r;
    if (!hyb_transformer_countable(hp, &t->shape)) return hyb_fail_memory(error, SIZE_MAX);
    if ((r = hyb_transformer_blocks(t, error)) != HYBRID_OK) return r;
    if (t->set.n) {
        t->memory.back.adapter_grads = store->grads;
        t->memory.back.first_layer = hyb_adapter_first_layer(t->set.use->adapter);
        f->sets = &t->set;
        f->set_of_run = t->memory.set_of_run;
        stage->narrow = t->memory.narrow;
    } else {
        t->memory.back.weights = store->weights;
        t->memory.back.grads = store->grads;
    }
    f->hp = hp;
    f->net = &m->net;
    f->tensors = t->device->ops->is_host ? m->weights.tensors : m->place.tensors;
    f->n_stages = 1;
    f->state = t->memory.state;
    f->kept = t->memory.kept;
    f->back = &t->memory.back;
    stage->device = t->device;
    stage->layer_end = hp->n_layer;
    stage->a = t->memory.base;
    if ((r = hyb_stage_rope(stage, hp, &m->net, m->weights.tensors, t->shape.n_ctx, error)) != HYBRID_OK) return r;
    hyb_train_rope_scale(&t->memory, hp, &stage->a);
    if ((r = hyb_train_rope(&t->memory, t->device, hp, &m->net, m->weights.tensors, t->shape.n_ctx, error)) !=
        HYBRID_OK)
        return r;
    if ((r = hyb_transformer_backend(t, &t->shape, &be, error)) != HYBRID_OK) return r;
    hyb_slicer_init(&t->base.cut, be);
    t->base.stream = be->ops->stream(be);
    t->base.be = stage->be = &t->base.cut.be;
    return HYBRID_OK;
}

/* ---- the number format ------------------------------------------------------------------------------------------- */

/* Bytes of the weights in the format of products. The host rounds them when it packs them, and so does a GPU those of
 * an adapter. */
static size_t hyb_transformer_rounded(const hyb_store *store, const hybrid_adapter *adapter, hybrid_type type)
{
    if (type == HYBRID_TYPE_F32 || adapter || store->device->ops->is_host) return 0;
    return sizeof(uint16_t) * (size_t)store->n_values;
}

static void hyb_transformer_refresh(hyb_objective *o)
{
    hyb_transformer *t = hyb_transformer_of(o);
    hyb_op_round op;
    if (!t->rounded) return;
    op.type = t->forward.rounding.type;
    op.x = t->store->weights;
    op.n = t->store->n_values;
    op.out = (uint16_t *)t->rounded;
    hyb_do_round(o->cut.real, &op);
}

/* A back end with the scratch that the format asks for takes the place of the one that is there. */
static hybrid_result hyb_transformer_exchange(hyb_transformer *t, const hyb_train_shape *shape, hybrid_error *error)
{
    hyb_backend *be, *old = t->base.cut.real;
    hybrid_result r = old->ops->sync(old, error);
    if (!r) r = hyb_transformer_backend(t, shape, &be, error);
    if (r) return r;
    t->base.cut.real = be;
    t->base.stream = be->ops->stream(be);
    old->ops->destroy(old);
    return HYBRID_OK;
}

static hybrid_result hyb_transformer_set_format(hyb_objective *o, hybrid_type type, uint64_t *bytes,
                                                hybrid_error *error)
{
    hyb_transformer *t = hyb_transformer_of(o);
    hyb_device *device = t->device;
    hyb_rounding *rounding = &t->forward.rounding;
    const size_t room = hyb_transformer_rounded(t->store, t->set.n ? t->set.use->adapter : NULL, type);
    void *old = t->rounded, *to = old;
    hyb_train_shape shape = t->shape;
    hybrid_result r = HYBRID_OK;
    shape.operands = type;
    if (room && !old) r = device->ops->alloc(device, room, &to, error);
    if (!r && shape.operands != t->shape.operands && !device->ops->is_host)
        r = hyb_transformer_exchange(t, &shape, error);
    if (r) {
        if (to != old) device->ops->free(device, to);
        return r;
    }
    if (old && !room) device->ops->free(device, old);
    t->shape = shape;
    t->rounded = room ? to : NULL;
    rounding->type = type;
    rounding->of = room ? t->store->weights : NULL;
    rounding->to = (const uint16_t *)t->rounded;
    hyb_transformer_refresh(o);
    *bytes = room ? (uint64_t)room * 3 : 0; /* the weights were read, and written in half their size */
    return HYBRID_OK;
}

static void hyb_transformer_destroy(hyb_objective *o)
{
    hyb_transformer *t = hyb_transformer_of(o);
    hyb_slicer_destroy(&t->base.cut.be);
    if (t->rounded) t->device->ops->free(t->device, t->rounded);
    if (t->block) t->device->ops->free(t->device, t->block);
    hyb_free_aligned(t->rt, t->host_block);
    hyb_free(t->rt, t);
}

/* ---- a batch ----------------------------------------------------------------------------------------------------- */

/* A batch with its sizes, which may be smaller than the trainer's. */
static hybrid_train_batch hyb_transformer_sized(const hyb_transformer *t, const hybrid_train_batch *batch)
{
    hybrid_train_batch b = *batch;
    if (!b.n_seq) b.n_seq = t->n_parts * t->shape.n_seq;
    if (!b.n_ctx) b.n_ctx = t->shape.n_ctx;
    return b;
}

/* n_seq sequences of a batch. */
static hybrid_result hyb_transformer_see(const hyb_transformer *t, const hybrid_train_batch *batch, int n_seq,
                                         int64_t *n_counted, double *weight, hybrid_error *error)
{
    const int n_ctx = batch->n_ctx, n = n_seq * n_ctx, n_vocab = t->model->hp.n_vocab;
    int i;
    for (i = 0; i < n; i++) {
        if (batch->ids[i] < 0 || batch->ids[i] >= n_vocab || batch->targets[i] >= n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "token %d of sequence %d is %d, and its target %d; the model has tokens 0 to %d", i % n_ctx,
                            i / n_ctx, batch->ids[i], batch->targets[i], n_vocab - 1);
        if (batch->targets[i] < 0) continue;
        if (batch->weights && !(batch->weights[i] >= 0 && batch->weights[i] < HUGE_VALF))
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "the weight of target %d of sequence %d is %g: weights must be finite and not negative",
                            i % n_ctx, i / n_ctx, (double)batch->weights[i]);
        ++*n_counted;
        *weight += batch->weights ? (double)batch->weights[i] : 1;
    }
    return HYBRID_OK;
}

static hybrid_result hyb_transformer_look(hyb_objective *o, const hybrid_train_batch *batch, int64_t *n_counted,
                                          double *weight, hybrid_error *error)
{
    const hyb_transformer *t = hyb_transformer_of(o);
    const hybrid_train_batch b = hyb_transformer_sized(t, batch);
    const int most = t->n_parts * t->shape.n_seq;
    if (b.n_seq < 0 || b.n_ctx < 0 || b.n_seq > most || b.n_ctx > t->shape.n_ctx)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "a batch of %d sequences of %d tokens, where the trainer has room for %d of %d", b.n_seq,
                        b.n_ctx, most, t->shape.n_ctx);
    if (!batch->ids || !batch->targets)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "a batch has no %s", batch->ids ? "targets" : "ids");
    return hyb_transformer_see(t, &b, b.n_seq, n_counted, weight, error);
}

/* Where the gradients of a layer begin: those of the layers after it come after them. */
static int64_t hyb_transformer_first(const hyb_transformer *t, int layer)
{
    const hyb_weights *w = &t->model->weights;
    hyb_weight i = t->model->net.layers[layer].first;
    int32_t pair;
    if (t->set.n) {
        const hybrid_adapter *a = t->set.use->adapter;
        for (pair = 0; pair < a->n_pairs && a->pairs[pair].w < i; pair++) {}
        return pair < a->n_pairs ? (int64_t)a->pairs[pair].a_at : t->store->n_values;
    }
    while (i < w->n_tensors && !hyb_transformer_trains(t->model, i)) i++;
    return i < w->n_tensors ? (const float *)w->tensors[i].data - t->store->weights : t->store->n_values;
}

/* Begins the pass over a part, which is looked at once more: between slices the caller could have changed it. */
static void hyb_transformer_part(hyb_transformer *t)
{
    const int64_t at = (int64_t)t->part * t->shape.n_seq * t->batch.n_ctx;
    hybrid_train_batch part = t->batch;
    hyb_train_shape shape = t->shape;
    hyb_train_want want;
    int64_t n_counted = 0;
    double weight = 0;
    want.ids = part.ids += at;
    want.targets = part.targets += at;
    want.weights = part.weights ? part.weights += at : NULL;
    want.factor = t->factor;
    want.backward = t->backward;
    shape.n_ctx = part.n_ctx;
    shape.n_seq = HYB_MIN(shape.n_seq, part.n_seq - t->part * shape.n_seq);
    t->result = hyb_transformer_see(t, &part, shape.n_seq, &n_counted, &weight, &t->error);
    if (!t->result) hyb_train_begin(&t->pass, &t->forward, &t->memory, &shape, &want);
}

static void hyb_transformer_begin(hyb_objective *o, const hybrid_train_batch *batch, double factor, bool backward)
{
    hyb_transformer *t = hyb_transformer_of(o);
    int64_t n_counted = 0;
    double weight = 0;
    t->batch = hyb_transformer_sized(t, batch);
    t->factor = factor;
    t->backward = backward;
    t->part = 0;
    t->loss = 0;
    o->cut.done = 0;
    o->ready = t->store->n_values;
    /* its sizes, too, could have been changed since it was looked at */
    t->result = hyb_transformer_look(o, &t->batch, &n_counted, &weight, &t->error);
    if (!t->result) hyb_transformer_part(t);
}

/* After the pass over a part: its losses. */
static hybrid_result hyb_transformer_sum(hyb_transformer *t)
{
    int i;
    t->result = hyb_train_end(&t->pass, &t->error);
    for (i = 0; i < t->pass.batch.n_out && !t->result; i++) t->loss += t->memory.loss[i];
    return t->result;
}

static bool hyb_transformer_work(hyb_objective *o)
{
    hyb_transformer *t = hyb_transformer_of(o);
    bool more, last;
    if (t->result) return false;
    more = hyb_train_work(&t->pass, &o->cut);
    last = (t->part + 1) * t->shape.n_seq >= t->batch.n_seq;
    if (t->backward && last && t->pass.finished >= 0) o->ready = hyb_transformer_first(t, t->pass.finished);
    if (more) return true;
    if (hyb_transformer_sum(t) || last) return false;
    t->part++;
    hyb_transformer_part(t);
    return !t->result;
}

static hybrid_result hyb_transformer_end(hyb_objective *o, double *loss, hybrid_error *error)
{
    hyb_transformer *t = hyb_transformer_of(o);
    if (t->result && error) *error = t->error;
    if (!t->result) *loss += t->loss;
    return t->result;
}

/* Over a store with the model's weights, whose arenas are there. shape: that of a part of a batch. */
static hybrid_result hyb_transformer_create(hybrid_runtime *rt, hybrid_model *model, const hybrid_trainer_desc *d,
                                            const hyb_train_shape *shape, const hyb_store *store,
                                            hyb_objective **objective, hybrid_error *error)
{
    static const hyb_objective_ops ops = { hyb_transformer_look,   hyb_transformer_begin,   hyb_transformer_work,
                                           hyb_transformer_end,    hyb_transformer_destroy, hyb_transformer_set_format,
                                           hyb_transformer_refresh };
    uint64_t moved = 0;
    hyb_transformer *t = (hyb_transformer *)hyb_calloc(rt, 1, sizeof *t);
    hybrid_result r;
    if (!t) return hyb_fail_memory(error, sizeof *t);
    t->base.ops = &ops;
    t->rt = rt;
    t->model = model;
    t->store = store;
    t->shape = *shape;
    t->n_parts = d->n_seq / shape->n_seq;
    if (d->adapter) {
        t->set.n = 1;
        t->set.use->adapter = d->adapter;
        t->set.use->scale = 1;
    }
    t->device = store->device;
    r = hyb_transformer_memory(t, store, error);
    if (!r) r = hyb_transformer_set_format(&t->base, shape->operands, &moved, error);
    if (r) {
        hyb_transformer_destroy(&t->base);
        return r;
    }
    *objective = &t->base;
    return HYBRID_OK;
}
#endif
