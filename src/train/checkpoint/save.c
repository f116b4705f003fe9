/* train/checkpoint/save: a checkpoint is written beside the one that it replaces, and renamed. */
#ifndef HYB_TRAIN_CHECKPOINT_SAVE_C
#define HYB_TRAIN_CHECKPOINT_SAVE_C
#include "layout.c"

typedef struct hyb_checkpoint_out {
    hyb_output file;
    hyb_checksum *sum;
    uint64_t written;
    bool failed;
    int why; /* errno of the failure */
} hyb_checkpoint_out;

static bool hyb_checkpoint_write(void *user, const void *data, size_t n)
{
    hyb_checkpoint_out *out = (hyb_checkpoint_out *)user;
    hyb_checksum_add(out->sum, data, n);
    errno = 0;
    out->failed = !hyb_output_write(&out->file, data, n);
    if (out->failed) out->why = errno;
    out->written += n;
    return !out->failed;
}

static hybrid_result hyb_checkpoint_own_keys(hyb_trained *e, const hybrid_trainer *t, hybrid_error *error)
{
    const hybrid_result r = hybrid_gguf_set_string(e->out, "general.architecture", "hybrid-own", error);
    return r ? r : hybrid_gguf_set_string(e->out, HYB_CHECKPOINT_KEY("own"), hyb_checkpoint_own(t), error);
}

static hybrid_result hyb_checkpoint_keys(hyb_trained *e, const hybrid_trainer *t, hybrid_error *error)
{
    const double noise[2] = { t->noise.gradient, t->noise.noise };
    double format[HYB_FORMAT_NUMBERS];
    hybrid_result r = hyb_checkpoint_is_model(t) ? hyb_trained_keys(e, error) : hyb_checkpoint_own_keys(e, t, error);
    if (!r)
        r = hybrid_gguf_set_int(e->out, HYB_CHECKPOINT_KEY("version"), HYBRID_GGUF_U32, HYB_CHECKPOINT_VERSION, error);
    if (!r) r = hybrid_gguf_set_int(e->out, HYB_CHECKPOINT_KEY("step"), HYBRID_GGUF_I64, t->step, error);
    if (!r) r = hybrid_gguf_set_numbers(e->out, HYB_CHECKPOINT_KEY("noise"), HYBRID_GGUF_F64, noise, 2, error);
    hyb_format_save(&t->format, format);
    if (!r)
        r = hybrid_gguf_set_numbers(e->out, HYB_CHECKPOINT_KEY("format"), HYBRID_GGUF_F64, format, HYB_FORMAT_NUMBERS,
                                    error);
    if (!r) r = hyb_checkpoint_set_numbers(e->out, &t->desc, error);
    if (!r && t->rider)
        r = hybrid_gguf_set_int(e->out, HYB_CHECKPOINT_KEY("predict_size"), HYBRID_GGUF_I64,
                                (int64_t)t->rider->ops->size(t->rider), error);
    if (!r)
        r = hybrid_gguf_set_numbers(e->out, HYB_CHECKPOINT_KEY("user"), HYBRID_GGUF_U8, t->user, t->user_size, error);
    return r;
}

/* Announces the tensors of the weights, or writes them: those of the model's file, or the parameters of somebody
 * else's. */
static hybrid_result hyb_checkpoint_weights(hyb_trained *e, const hybrid_trainer *t, bool announce, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    uint64_t ne[4];
    int i;
    if (hyb_checkpoint_is_model(t)) return announce ? hyb_trained_tensors(e, error) : hyb_trained_write(e, error);
    for (i = 0; i < t->store.n_params && !r; i++) {
        const hyb_param *p = &t->store.params[i];
        const float *values = (t->desc.adapter ? t->desc.adapter->values : t->store.weights) + p->at;
        const size_t bad = hyb_not_finite(values, (size_t)p->n);
        const uint32_t n_dims = hyb_checkpoint_shape(t, p, ne);
        if (announce)
            r = hybrid_gguf_add_tensor(e->out, hyb_trained_name(e, "", p->name), HYBRID_TYPE_F32, n_dims, ne, error);
        else if (bad < (size_t)p->n)
            r = hyb_fail(error, HYBRID_ERROR_NUMERIC, "value %llu of parameter '%s' is %g: nothing was saved",
                         (unsigned long long)bad, hyb_trained_name(e, "", p->name), (double)values[bad]);
        else
            r = hybrid_gguf_write(e->out, values, sizeof *values * (size_t)p->n, error);
    }
    return r;
}

/* The arrays of the rider, if there is one: announces their tensors. */
static hybrid_result hyb_checkpoint_announce_rider(hyb_trained *e, const hybrid_trainer *t, hybrid_error *error)
{
    hyb_rider *rider = t->rider;
    hyb_rider_array array;
    hybrid_result r = HYBRID_OK;
    uint64_t n;
    int i;
    if (!rider) return HYBRID_OK;
    for (i = 0; !r && rider->ops->array(rider, i, &array); i++) {
        n = (uint64_t)array.n;
        r = hybrid_gguf_add_tensor(e->out, array.name, HYBRID_TYPE_F32, 1, &n, error);
    }
    n = ((uint64_t)rider->ops->size(rider) + 3) / 4;
    return r ? r : hybrid_gguf_add_tensor(e->out, "hybrid.predict.bytes", HYBRID_TYPE_F32, 1, &n, error);
}

static hybrid_result hyb_checkpoint_announce(hyb_trained *e, const hybrid_trainer *t, hybrid_error *error)
{
    static const uint64_t sum[1] = { HYB_CHECKSUM_VALUES };
    hybrid_result r = hyb_checkpoint_weights(e, t, true, error);
    uint64_t ne[4];
    int a, i;
    for (a = HYB_CHECKPOINT_WEIGHTS + 1; a < HYB_CHECKPOINT_ARRAYS; a++)
        for (i = 0; i < t->store.n_params && !r; i++) {
            const hyb_param *p = &t->store.params[i];
            const uint32_t n_dims = hyb_checkpoint_shape(t, p, ne);
            if (!hyb_checkpoint_has(p, a)) continue;
            r = hybrid_gguf_add_tensor(e->out, hyb_trained_name(e, hyb_checkpoint_prefix(a), p->name), HYBRID_TYPE_F32,
                                       n_dims, ne, error);
        }
    if (!r) r = hyb_checkpoint_announce_rider(e, t, error);
    return r ? r : hybrid_gguf_add_tensor(e->out, "hybrid.checksum", HYBRID_TYPE_F32, 1, sum, error);
}

/* A state, by way of the host's memory where it is on another device. */
static hybrid_result hyb_checkpoint_give_state(hyb_trained *e, hybrid_trainer *t, const hyb_param *p, int kind,
                                               hybrid_error *error)
{
    const size_t bytes = sizeof(float) * (size_t)p->n;
    float *host;
    hybrid_result r;
    if (p->state[kind] < 0) return HYBRID_OK;
    if (t->store.device->ops->is_host)
        return hybrid_gguf_write(e->out, hyb_store_state(&t->store, p, (hyb_state_kind)kind), bytes, error);
    if (!(host = (float *)hyb_alloc(t->rt, bytes))) return hyb_fail_memory(error, bytes);
    r = hyb_store_read_states(&t->store, t->objective->cut.real, host, p->state[kind], p->n, error);
    if (!r) r = hybrid_gguf_write(e->out, host, bytes, error);
    hyb_free(t->rt, host);
    return r;
}

/* An array on the trainer's device. */
static hybrid_result hyb_checkpoint_give_array(hyb_trained *e, const hybrid_trainer *t, const float *values, int64_t n,
                                               hybrid_error *error)
{
    const size_t bytes = sizeof *values * (size_t)n;
    float *host;
    hybrid_result r;
    if (!values) return HYBRID_OK;
    if (t->store.device->ops->is_host) return hybrid_gguf_write(e->out, values, bytes, error);
    if (!(host = (float *)hyb_alloc(t->rt, bytes))) return hyb_fail_memory(error, bytes);
    r = hyb_store_read(t->objective->cut.real, host, values, n, error);
    if (!r) r = hybrid_gguf_write(e->out, host, bytes, error);
    hyb_free(t->rt, host);
    return r;
}

static hybrid_result hyb_checkpoint_give_rider(hyb_trained *e, const hybrid_trainer *t, hybrid_error *error)
{
    hyb_rider *rider = t->rider;
    hyb_rider_array array;
    hybrid_result r = HYBRID_OK;
    unsigned char *bytes;
    size_t n;
    int i;
    if (!rider) return HYBRID_OK;
    for (i = 0; !r && rider->ops->array(rider, i, &array); i++)
        r = hyb_checkpoint_give_array(e, t, array.values, array.n, error);
    if (r) return r;
    n = (rider->ops->size(rider) + 3) / 4 * 4;
    if (!(bytes = (unsigned char *)hyb_calloc(t->rt, n, 1))) return hyb_fail_memory(error, n);
    rider->ops->give(rider, bytes, rider->ops->size(rider));
    r = hybrid_gguf_write(e->out, bytes, n, error);
    hyb_free(t->rt, bytes);
    return r;
}

static hybrid_result hyb_checkpoint_give(hyb_trained *e, hybrid_trainer *t, hyb_checksum *sum, hybrid_error *error)
{
    float values[HYB_CHECKSUM_VALUES];
    hybrid_result r = hyb_transformer_fetch(t->model, t->objective->cut.real, error);
    int a, i;
    if (!r) r = hyb_checkpoint_weights(e, t, false, error);
    for (a = HYB_CHECKPOINT_WEIGHTS + 1; a < HYB_CHECKPOINT_ARRAYS; a++)
        for (i = 0; i < t->store.n_params && !r; i++)
            r = hyb_checkpoint_give_state(e, t, &t->store.params[i], a - 1, error);
    if (!r) r = hyb_checkpoint_give_rider(e, t, error);
    if (r) return r;
    hyb_checkpoint_sum(sum, values);
    r = hybrid_gguf_write(e->out, values, sizeof values, error);
    return r ? r : hybrid_gguf_end(e->out, error);
}

/* Into a file that is open. */
static hybrid_result hyb_checkpoint_fill(hybrid_trainer *t, hyb_checkpoint_out *out, const char *path,
                                         hybrid_error *error)
{
    hyb_trained e;
    hybrid_result r = hyb_trained_begin(&e, t->rt, t->model, HYBRID_MIX_F32, error);
    if (!r) r = hyb_checkpoint_keys(&e, t, error);
    if (!r) r = hyb_checkpoint_announce(&e, t, error);
    if (!r) r = hybrid_gguf_begin(e.out, hyb_checkpoint_write, out, error);
    if (!r) r = hyb_checkpoint_give(&e, t, out->sum, error);
    hyb_trained_end(&e);
    if (!r || !out->failed) return r;
    return hyb_fail(error, HYBRID_ERROR_IO, "writing the checkpoint '%.100s' failed at byte %llu: %.60s", path,
                    (unsigned long long)out->written, out->why ? strerror(out->why) : "is the disk full?");
}

static hybrid_result hyb_checkpoint_save(hybrid_trainer *t, const char *path, hybrid_error *error)
{
    hybrid_runtime *rt = t->rt;
    hyb_checkpoint_out out;
    hybrid_result r;
    memset(&out, 0, sizeof out);
    if (!(out.sum = (hyb_checksum *)hyb_calloc(rt, 1, sizeof *out.sum))) return hyb_fail_memory(error, sizeof *out.sum);
    if ((r = hyb_output_open(rt, path, true, &out.file, error)) == HYBRID_OK) {
        r = hyb_checkpoint_fill(t, &out, path, error);
        if (r)
            hyb_output_abandon(rt, &out.file);
        else
            r = hyb_output_finish(rt, &out.file, error);
    }
    hyb_free(rt, out.sum);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_save, (hybrid_trainer *trainer, const char *path, hybrid_error *error),
           (trainer, path, error))
{
    hybrid_result r;
    if (!trainer || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_save: %s is NULL", trainer ? "path" : "trainer");
    if ((r = hyb_trainer_idle(trainer, "hybrid_trainer_save", error)) != HYBRID_OK) return r;
    if ((r = hyb_trainer_has_weights(trainer, "hybrid_trainer_save", error)) != HYBRID_OK) return r;
    trainer->in_use = hyb_process();
    r = hyb_checkpoint_save(trainer, path, error);
    trainer->in_use = 0;
    return r;
}
#endif
