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
 *     hybrid.checksum              the last tensor: the checksum of all bytes before its own, 16 bits a value
 *
 * Loading reads the file twice: the first time to see that every byte is what was saved and fits, the second time into
 * the trainer. Between the two nothing of it is needed in memory. */
#ifndef HYB_TRAIN_CHECKPOINT_C
#define HYB_TRAIN_CHECKPOINT_C
#include "../core/checksum.c"
#include "export.c"

enum { HYB_CHECKPOINT_VERSION = 1, HYB_CHECKSUM_VALUES = 4 };
#define HYB_CHECKPOINT_KEY(name) "hybrid.checkpoint." name

/* The checksum as values of a tensor. */
static void hyb_checkpoint_sum(hyb_checksum *s, float values[HYB_CHECKSUM_VALUES])
{
    const uint64_t sum = hyb_checksum_end(s);
    int i;
    for (i = 0; i < HYB_CHECKSUM_VALUES; i++) values[i] = (float)(sum >> 16 * i & 0xFFFF);
}

/* ---- the numbers of a descriptor --------------------------------------------------------------------------------- */

typedef enum hyb_number_kind { HYB_NUMBER_I32, HYB_NUMBER_I64, HYB_NUMBER_F32, HYB_NUMBER_BOOL } hyb_number_kind;

typedef struct hyb_checkpoint_number {
    const char *key;
    hyb_number_kind kind;
    size_t at; /* in hybrid_trainer_desc */
    bool note; /* it says nothing about the results, or too much: a batch may be cut as one likes */
} hyb_checkpoint_number;

static const hyb_checkpoint_number *hyb_checkpoint_numbers(size_t *count)
{
    /* clang-format off */
#define HYB_NUMBER(field, kind, note) { HYB_CHECKPOINT_KEY(#field), kind, offsetof(hybrid_trainer_desc, field), note }
    static const hyb_checkpoint_number rows[] = {
        HYB_NUMBER(n_seq, HYB_NUMBER_I32, true), HYB_NUMBER(n_ctx, HYB_NUMBER_I32, true),
        HYB_NUMBER(n_batches, HYB_NUMBER_I32, false), HYB_NUMBER(rate, HYB_NUMBER_F32, false),
        HYB_NUMBER(optimizer, HYB_NUMBER_I32, false), HYB_NUMBER(momentum, HYB_NUMBER_F32, false),
        HYB_NUMBER(nesterov, HYB_NUMBER_BOOL, false), HYB_NUMBER(muon_rate, HYB_NUMBER_F32, false),
        HYB_NUMBER(ema, HYB_NUMBER_F32, false),
        HYB_NUMBER(beta1, HYB_NUMBER_F32, false), HYB_NUMBER(beta2, HYB_NUMBER_F32, false),
        HYB_NUMBER(eps, HYB_NUMBER_F32, false), HYB_NUMBER(decay, HYB_NUMBER_F32, false),
        HYB_NUMBER(decay_vectors, HYB_NUMBER_BOOL, false), HYB_NUMBER(clip, HYB_NUMBER_F32, false),
        HYB_NUMBER(schedule, HYB_NUMBER_I32, false), HYB_NUMBER(n_warmup, HYB_NUMBER_I64, false),
        HYB_NUMBER(n_decay, HYB_NUMBER_I64, false), HYB_NUMBER(n_steps, HYB_NUMBER_I64, false),
        HYB_NUMBER(rate_end, HYB_NUMBER_F32, false)
    };
#undef HYB_NUMBER
    /* clang-format on */
    *count = HYB_COUNT(rows);
    return rows;
}

/* Each is exact in a double, but for counts of steps beyond 2^53. */
static double hyb_checkpoint_number_of(const hyb_checkpoint_number *number, const hybrid_trainer_desc *desc)
{
    const char *at = (const char *)desc + number->at;
    int32_t i32;
    int64_t i64;
    float f32;
    bool b;
    switch (number->kind) {
    case HYB_NUMBER_I32: memcpy(&i32, at, sizeof i32); return i32;
    case HYB_NUMBER_I64: memcpy(&i64, at, sizeof i64); return (double)i64;
    case HYB_NUMBER_F32: memcpy(&f32, at, sizeof f32); return (double)f32;
    case HYB_NUMBER_BOOL: memcpy(&b, at, sizeof b); return b;
    }
    return 0;
}

static hybrid_result hyb_checkpoint_set_numbers(hybrid_gguf_writer *w, const hybrid_trainer_desc *desc,
                                                hybrid_error *error)
{
    size_t n, i;
    const hyb_checkpoint_number *rows = hyb_checkpoint_numbers(&n);
    hybrid_result r = HYBRID_OK;
    for (i = 0; i < n && !r; i++) {
        const double value = hyb_checkpoint_number_of(&rows[i], desc);
        switch (rows[i].kind) {
        case HYB_NUMBER_I32: r = hybrid_gguf_set_int(w, rows[i].key, HYBRID_GGUF_I32, (int64_t)value, error); break;
        case HYB_NUMBER_I64: r = hybrid_gguf_set_int(w, rows[i].key, HYBRID_GGUF_I64, (int64_t)value, error); break;
        case HYB_NUMBER_F32: r = hybrid_gguf_set_float(w, rows[i].key, HYBRID_GGUF_F32, value, error); break;
        case HYB_NUMBER_BOOL: r = hybrid_gguf_set_int(w, rows[i].key, HYBRID_GGUF_BOOL, value != 0, error); break;
        }
    }
    return r;
}

/* A trainer with other numbers goes on with its own: that may be wanted, and may be a slip. */
static void hyb_checkpoint_compare(const hybrid_trainer *t, const hybrid_gguf *gguf)
{
    size_t n, i;
    const hyb_checkpoint_number *rows = hyb_checkpoint_numbers(&n);
    for (i = 0; i < n; i++) {
        const double ours = hyb_checkpoint_number_of(&rows[i], &t->desc);
        double theirs = 0; /* where it is older than the key */
        hybrid_gguf_get_f64(gguf, rows[i].key, &theirs);
        if (rows[i].note || theirs == ours) continue;
        hyb_log(t->rt, HYBRID_LOG_WARN, "the checkpoint was trained with %s %g; the trainer goes on with %g",
                rows[i].key + strlen(HYB_CHECKPOINT_KEY("")), theirs, ours);
    }
}

/* ---- save -------------------------------------------------------------------------------------------------------- */

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

/* Is the checkpoint a model? Else it is an adapter, or somebody else's. */
static bool hyb_checkpoint_is_model(const hybrid_trainer *t) { return t->model && !t->desc.adapter; }

/* What it is, if it is not a model of ours. */
static const char *hyb_checkpoint_own(const hybrid_trainer *t)
{
    const char *name = t->model ? "adapter" : hyb_own_of(t->objective)->name;
    return name[0] ? name : "own";
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

/* What is kept of a parameter, in the order of the file; the states follow: weights + 1 + kind. */
enum { HYB_CHECKPOINT_WEIGHTS = 0, HYB_CHECKPOINT_ARRAYS = 1 + HYB_STATES };

/* Of the names of its tensors. */
static const char *hyb_checkpoint_prefix(int array)
{
    static const char *const prefixes[HYB_CHECKPOINT_ARRAYS] = { "", "hybrid.m.", "hybrid.v.", "hybrid.ema." };
    return prefixes[array];
}

/* Whether the parameter has such an array. */
static bool hyb_checkpoint_has(const hyb_param *p, int array)
{
    return array == HYB_CHECKPOINT_WEIGHTS || p->state[array - 1] >= 0;
}

/* The sizes of a parameter as a tensor, as in the model's file. Returns their number. */
static uint32_t hyb_checkpoint_shape(const hybrid_trainer *t, const hyb_param *p, uint64_t ne[4])
{
    const hybrid_gguf_tensor *of;
    if (hyb_checkpoint_is_model(t)) {
        const hybrid_gguf *gguf = t->model->gguf;
        of = &gguf->tensors[hyb_names_find(&gguf->tensor_names, p->name)].tensor;
        memcpy(ne, of->ne, sizeof of->ne);
        return of->n_dims;
    }
    ne[0] = (uint64_t)p->cols;
    ne[1] = (uint64_t)p->rows;
    ne[2] = ne[3] = 1;
    return p->rows > 1 ? 2 : 1;
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

/* ---- load -------------------------------------------------------------------------------------------------------- */

typedef struct hyb_checkpoint_in {
    hyb_file file; /* read, not mapped: one that somebody makes shorter must not end the program */
    hybrid_gguf *gguf;
    hyb_checksum *sum;
    int64_t step;
    hyb_format format;   /* of products */
    unsigned char *user; /* bytes of the caller */
    size_t user_size;
    unsigned char *rider; /* of the rider: rider_size bytes; NULL: it begins anew */
    size_t rider_size;
    hybrid_error why; /* of a failed read */
} hyb_checkpoint_in;

static bool hyb_checkpoint_read_at(void *user, uint64_t offset, void *dst, size_t n)
{
    hyb_checkpoint_in *in = (hyb_checkpoint_in *)user;
    return !hyb_file_read(&in->file, offset, dst, n, &in->why);
}

static hybrid_result hyb_checkpoint_open(hyb_checkpoint_in *in, hybrid_runtime *rt, const hybrid_source *from,
                                         hybrid_error *error)
{
    hybrid_source source;
    int64_t version = 0;
    hybrid_result r;
    if ((r = hyb_file_open_as(from, false, &in->file, error)) != HYBRID_OK) return r;
    memset(&source, 0, sizeof source);
    source.reader.user = in;
    source.reader.size = in->file.size;
    source.reader.read_at = hyb_checkpoint_read_at;
    if ((r = hybrid_gguf_open(rt, &source, &in->gguf, error)) != HYBRID_OK)
        return in->why.result ? hyb_kept(&in->why, error) : r;
    if (!hybrid_gguf_get_i64(in->gguf, HYB_CHECKPOINT_KEY("version"), &version))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the file is a GGUF, but no checkpoint: it has no key '%s'; hybrid_model_load loads models",
                        HYB_CHECKPOINT_KEY("version"));
    if (version != HYB_CHECKPOINT_VERSION)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the checkpoint is of version %lld, and this hybrid reads version %d: go on with the one that "
                        "saved it",
                        (long long)version, HYB_CHECKPOINT_VERSION);
    return HYBRID_OK;
}

/* Are all bytes those that were saved? */
static hybrid_result hyb_checkpoint_verify(hyb_checkpoint_in *in, hybrid_error *error)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(in->gguf, "hybrid.checksum");
    unsigned char block[4096];
    float want[HYB_CHECKSUM_VALUES], got[HYB_CHECKSUM_VALUES];
    uint64_t at, end;
    size_t n, i;
    hybrid_result r;
    bool good = t && t->type == HYBRID_TYPE_F32 && t->size == sizeof want;
    for (at = 0; good && at < t->offset; at += n) {
        n = (size_t)HYB_MIN(t->offset - at, sizeof block);
        if ((r = hyb_file_read(&in->file, at, block, n, error)) != HYBRID_OK) return r;
        hyb_checksum_add(in->sum, block, n);
    }
    if (good) {
        if ((r = hyb_file_read(&in->file, t->offset, got, sizeof got, error)) != HYBRID_OK) return r;
        hyb_checkpoint_sum(in->sum, want);
        end = t->offset + t->size;
        n = (size_t)hybrid_gguf_alignment(in->gguf);
        good = !memcmp(want, got, sizeof want) && in->file.size == (end + n - 1) / n * n;
        for (at = end; good && at < in->file.size; at += n) {
            n = (size_t)HYB_MIN(in->file.size - at, sizeof block);
            if ((r = hyb_file_read(&in->file, at, block, n, error)) != HYBRID_OK) return r;
            for (i = 0; i < n; i++) good = good && !block[i];
        }
    }
    if (good) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_FORMAT,
                    "the checkpoint is damaged: its bytes do not give the checksum at its end; nothing was loaded: "
                    "take an earlier one");
}

/* What makes numbers mean something: the keys of the architecture and of the tokens. */
static bool hyb_checkpoint_minds(const hybrid_trainer *t, hybrid_string key)
{
    const char *arch = t->model->hp.arch->name;
    const size_t n = strlen(arch);
    return hyb_string_is(key, "general.architecture") || hyb_string_begins(key, "tokenizer.ggml.") ||
           (hyb_string_begins(key, arch) && key.size > n && key.data[n] == '.');
}

/* Is it of the same kind: a model of ours, an adapter, or one of somebody else's? */
static hybrid_result hyb_checkpoint_own_agrees(const hybrid_trainer *t, const hyb_checkpoint_in *in,
                                               hybrid_error *error)
{
    hybrid_string name = { NULL, 0 };
    char text[64];
    const char *wanted = hyb_checkpoint_is_model(t) ? NULL : hyb_checkpoint_own(t);
    hybrid_gguf_get_string(in->gguf, HYB_CHECKPOINT_KEY("own"), &name);
    if (wanted ? name.data && hyb_string_is(name, wanted) : !name.data) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "the checkpoint is of another model than the trainer's: of '%s', not of '%s'",
                    name.data ? hyb_printable(name, text) : "a transformer", wanted ? wanted : "a transformer");
}

/* Is every key of a that matters the same in b? */
static hybrid_result hyb_checkpoint_keys_agree(const hybrid_trainer *t, const hybrid_gguf *a, const hybrid_gguf *b,
                                               hybrid_error *error)
{
    hybrid_gguf_value va, vb;
    char text[64];
    size_t i, j;
    for (i = 0; i < hybrid_gguf_key_count(a); i++) {
        const hybrid_string key = hybrid_gguf_key(a, i, &va);
        if (!hyb_checkpoint_minds(t, key)) continue;
        j = hyb_names_find(&b->key_names, key);
        if (j != HYB_NO_NAME) {
            hybrid_gguf_key(b, j, &vb);
            if (va.type == vb.type && va.item_type == vb.item_type && va.count == vb.count && va.size == vb.size &&
                !memcmp(va.data, vb.data, (size_t)va.size))
                continue;
        }
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the checkpoint is of another model than the trainer's: they differ in key '%s'",
                        hyb_printable(key, text));
    }
    return HYBRID_OK;
}

/* The tensor of the checkpoint that holds an array of a parameter. */
static const hybrid_gguf_tensor *hyb_checkpoint_find(const hyb_checkpoint_in *in, hyb_trained *e, const char *prefix,
                                                     const hyb_param *p)
{
    return hybrid_gguf_find_tensor(in->gguf, hyb_trained_name(e, prefix, p->name));
}

/* Has the checkpoint nothing of an array? Then it begins anew. */
static bool hyb_checkpoint_lacks(const hybrid_trainer *t, const hyb_checkpoint_in *in, hyb_trained *e, int array)
{
    int i;
    if (array == HYB_CHECKPOINT_WEIGHTS) return false;
    for (i = 0; i < t->store.n_params; i++)
        if (hyb_checkpoint_find(in, e, hyb_checkpoint_prefix(array), &t->store.params[i])) return false;
    return true;
}

/* Has it an array of all parameters that have it in the trainer, in the same shapes, or of none? */
static hybrid_result hyb_checkpoint_fits(const hybrid_trainer *t, const hyb_checkpoint_in *in, hyb_trained *e,
                                         int array, hybrid_error *error)
{
    const char *prefix = hyb_checkpoint_prefix(array);
    uint64_t ne[4];
    char text[64];
    int i;
    if (hyb_checkpoint_lacks(t, in, e, array)) return HYBRID_OK;
    for (i = 0; i < t->store.n_params; i++) {
        const hyb_param *p = &t->store.params[i];
        const hybrid_gguf_tensor *got = hyb_checkpoint_find(in, e, prefix, p);
        if (!hyb_checkpoint_has(p, array)) continue;
        hyb_checkpoint_shape(t, p, ne);
        if (got && got->type == HYBRID_TYPE_F32 && !memcmp(got->ne, ne, sizeof got->ne)) continue;
        return hyb_fail(error, HYBRID_ERROR_INVALID, "the checkpoint is of another model than the trainer's: %s '%s%s'",
                        got ? "of another shape is its tensor" : "it has no tensor", prefix,
                        hyb_printable(p->name, text));
    }
    return HYBRID_OK;
}

/* Moments mean nothing to another optimizer. */
static hybrid_result hyb_checkpoint_optimizer(const hybrid_trainer *t, const hyb_checkpoint_in *in, hybrid_error *error)
{
    hybrid_trainer_desc of = t->desc;
    int64_t number = HYBRID_OPTIMIZER_ADAMW; /* of those that are older than the key */
    hybrid_gguf_get_i64(in->gguf, HYB_CHECKPOINT_KEY("optimizer"), &number);
    if (number == (int64_t)t->desc.optimizer) return HYBRID_OK;
    if (number < 0 || number > HYBRID_OPTIMIZER_MUON)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the checkpoint was trained by optimizer %lld, which this hybrid does not know",
                        (long long)number);
    of.optimizer = (hybrid_optimizer)number;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "the checkpoint was trained by %s and the trainer has %s, which cannot go on from it: make a "
                    "trainer with %s, or load the checkpoint as a model to begin anew with its weights",
                    hyb_optimizer_of(&of)->name, t->optimizer->name, hyb_optimizer_of(&of)->name);
}

/* Of products; that of a checkpoint which is older than the key is fp32. */
static hybrid_result hyb_checkpoint_format(const hybrid_trainer *t, hyb_checkpoint_in *in, hybrid_error *error)
{
    hybrid_gguf_value value;
    double numbers[HYB_FORMAT_NUMBERS];
    memset(&in->format, 0, sizeof in->format);
    hyb_format_take(&in->format, HYBRID_TYPE_F32);
    if (!hybrid_gguf_find(in->gguf, HYB_CHECKPOINT_KEY("format"), &value)) return HYBRID_OK;
    if (value.type == HYBRID_GGUF_ARRAY && value.item_type == HYBRID_GGUF_F64 && value.count == HYB_FORMAT_NUMBERS) {
        memcpy(numbers, value.data, sizeof numbers);
        if (hyb_format_load(&in->format, numbers) && (t->model || in->format.type == HYBRID_TYPE_F32)) return HYBRID_OK;
    }
    return hyb_fail(error, HYBRID_ERROR_FORMAT,
                    "the checkpoint's key '%s' is not a number format of training: it is damaged, or of a newer hybrid",
                    HYB_CHECKPOINT_KEY("format"));
}

/* The trainer goes on in the format of the checkpoint. */
static hybrid_result hyb_checkpoint_take_format(hybrid_trainer *t, const hyb_checkpoint_in *in, hybrid_error *error)
{
    const hybrid_type had = t->format.type, type = in->format.type;
    uint64_t bytes = 0;
    hybrid_result r;
    if (type == had) return HYBRID_OK;
    r = hyb_trainer_exchange_format(t, type, &bytes, "hybrid_trainer_load", error);
    if (r) return r;
    t->format = in->format;
    hyb_log(t->rt, HYBRID_LOG_WARN,
            "the checkpoint was trained in %s, and the trainer was made for %s; it goes on in %s: "
            "hybrid_trainer_set_format changes that",
            hyb_format_name(type), hyb_format_name(had), hyb_format_name(type));
    hyb_trainer_say_format(t);
    return HYBRID_OK;
}

/* What the file has of the rider; it is left out where it is of another one. */
static hybrid_result hyb_checkpoint_rider(const hybrid_trainer *t, hyb_checkpoint_in *in, hybrid_error *error)
{
    const hybrid_gguf_tensor *got = hybrid_gguf_find_tensor(in->gguf, "hybrid.predict.bytes");
    hyb_rider_array array;
    int64_t size = -1;
    bool fits;
    hybrid_result r;
    int i;
    if (!t->rider && got)
        hyb_log(
            t->rt, HYBRID_LOG_WARN,
            "the checkpoint was trained with a predictor, and the trainer has none: it goes on by true steps alone");
    if (!t->rider || !got) return HYBRID_OK;
    hybrid_gguf_get_i64(in->gguf, HYB_CHECKPOINT_KEY("predict_size"), &size);
    fits = got->type == HYBRID_TYPE_F32 && size >= 0 && ((uint64_t)size + 3) / 4 * 4 == got->size;
    for (i = 0; fits && t->rider->ops->array(t->rider, i, &array); i++) {
        const hybrid_gguf_tensor *a = hybrid_gguf_find_tensor(in->gguf, array.name);
        fits = a && a->type == HYBRID_TYPE_F32 && a->size == sizeof(float) * (uint64_t)array.n;
    }
    if (fits) {
        if (!(in->rider = (unsigned char *)hyb_alloc(t->rt, (size_t)got->size)))
            return hyb_fail_memory(error, got->size);
        in->rider_size = (size_t)size;
        if ((r = hyb_file_read(&in->file, got->offset, in->rider, in->rider_size, error)) != HYBRID_OK) return r;
        fits = t->rider->ops->fits(t->rider, in->rider, in->rider_size);
    }
    if (fits) return HYBRID_OK;
    hyb_free(t->rt, in->rider);
    in->rider = NULL;
    hyb_log(t->rt, HYBRID_LOG_WARN,
            "the checkpoint's predictor has other settings than the trainer's, which begins to watch anew");
    return HYBRID_OK;
}

/* Everything that can be seen before anything is changed. */
static hybrid_result hyb_checkpoint_check(const hybrid_trainer *t, hyb_checkpoint_in *in, hyb_trained *e,
                                          hybrid_error *error)
{
    hybrid_gguf_value user;
    hybrid_result r = hyb_checkpoint_verify(in, error);
    int a;
    if (!r) r = hyb_checkpoint_own_agrees(t, in, error);
    if (!r && hyb_checkpoint_is_model(t)) r = hyb_checkpoint_keys_agree(t, t->model->gguf, in->gguf, error);
    if (!r && hyb_checkpoint_is_model(t)) r = hyb_checkpoint_keys_agree(t, in->gguf, t->model->gguf, error);
    if (!r) r = hyb_checkpoint_fits(t, in, e, HYB_CHECKPOINT_WEIGHTS, error);
    if (!r) r = hyb_checkpoint_optimizer(t, in, error);
    if (!r) r = hyb_checkpoint_format(t, in, error);
    for (a = HYB_CHECKPOINT_WEIGHTS + 1; a < HYB_CHECKPOINT_ARRAYS && !r; a++)
        r = hyb_checkpoint_fits(t, in, e, a, error);
    if (r) return r;
    if (!hybrid_gguf_get_i64(in->gguf, HYB_CHECKPOINT_KEY("step"), &in->step) || in->step < 0 ||
        !hybrid_gguf_find(in->gguf, HYB_CHECKPOINT_KEY("user"), &user) || user.item_type != HYBRID_GGUF_U8)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "the checkpoint lacks its number of steps, or the caller's bytes");
    if ((r = hyb_checkpoint_rider(t, in, error)) != HYBRID_OK) return r;
    if (!user.count) return HYBRID_OK;
    if (!(in->user = (unsigned char *)hyb_alloc(t->rt, (size_t)user.count))) return hyb_fail_memory(error, user.count);
    in->user_size = (size_t)user.count;
    memcpy(in->user, user.data, in->user_size);
    return HYBRID_OK;
}

/* The values of an array of a parameter, in the host's memory. An average that the checkpoint lacks begins with the
 * weights, a moment with zeros. */
static hybrid_result hyb_checkpoint_host_values(hybrid_trainer *t, hyb_checkpoint_in *in, const hybrid_gguf_tensor *of,
                                                int array, const hyb_param *p, float *host, hybrid_error *error)
{
    const size_t bytes = sizeof *host * (size_t)p->n;
    if (of) return hyb_file_read(&in->file, of->offset, host, bytes, error);
    if (array == 1 + HYB_STATE_EMA)
        return hyb_store_read(t->objective->cut.real, host, t->store.weights + p->at, p->n, error);
    memset(host, 0, bytes);
    return HYBRID_OK;
}

/* One array of a parameter, by way of the host's memory where it goes to another device. */
static hybrid_result hyb_checkpoint_read_of(hybrid_trainer *t, hyb_checkpoint_in *in, hyb_trained *e, int array,
                                            const hyb_param *p, bool lacks, hybrid_error *error)
{
    hyb_backend *be = t->objective->cut.real;
    const hybrid_gguf_tensor *of = lacks ? NULL : hyb_checkpoint_find(in, e, hyb_checkpoint_prefix(array), p);
    const size_t bytes = sizeof(float) * (size_t)p->n;
    const bool is_weights = array == HYB_CHECKPOINT_WEIGHTS;
    float *host;
    hybrid_result r;
    if (!hyb_checkpoint_has(p, array)) return HYBRID_OK;
    if (t->store.device->ops->is_host) {
        host = is_weights ? t->store.weights + p->at : hyb_store_state(&t->store, p, (hyb_state_kind)(array - 1));
        return hyb_checkpoint_host_values(t, in, of, array, p, host, error);
    }
    if (!(host = (float *)hyb_alloc(t->rt, bytes))) return hyb_fail_memory(error, bytes);
    r = hyb_checkpoint_host_values(t, in, of, array, p, host, error);
    if (!r && is_weights)
        r = hyb_store_write(be, t->store.weights + p->at, host, p->n, error);
    else if (!r)
        r = hyb_store_write_states(&t->store, be, p->state[array - 1], host, p->n, error);
    hyb_free(t->rt, host);
    return r;
}

static hybrid_result hyb_checkpoint_read(hybrid_trainer *t, hyb_checkpoint_in *in, hyb_trained *e, int array,
                                         hybrid_error *error)
{
    const bool lacks = hyb_checkpoint_lacks(t, in, e, array);
    hybrid_result r = HYBRID_OK;
    int i;
    for (i = 0; i < t->store.n_params && !r; i++)
        r = hyb_checkpoint_read_of(t, in, e, array, &t->store.params[i], lacks, error);
    return r;
}

/* Unknown where the checkpoint is older than the key. */
static void hyb_checkpoint_noise(hybrid_trainer *t, const hybrid_gguf *gguf)
{
    hybrid_gguf_value value;
    double noise[2] = { 0, 0 };
    if (hybrid_gguf_find(gguf, HYB_CHECKPOINT_KEY("noise"), &value) && value.type == HYBRID_GGUF_ARRAY &&
        value.item_type == HYBRID_GGUF_F64 && value.count == 2)
        memcpy(noise, value.data, sizeof noise);
    t->noise.gradient = noise[0];
    t->noise.noise = noise[1];
}

/* Values of the file, by way of the host's memory where they go to another device. */
static hybrid_result hyb_checkpoint_values(hybrid_trainer *t, hyb_checkpoint_in *in, uint64_t offset, float *values,
                                           size_t bytes, hybrid_error *error)
{
    float *host;
    hybrid_result r;
    if (t->store.device->ops->is_host) return hyb_file_read(&in->file, offset, values, bytes, error);
    if (!(host = (float *)hyb_alloc(t->rt, bytes))) return hyb_fail_memory(error, bytes);
    r = hyb_file_read(&in->file, offset, host, bytes, error);
    if (!r) r = hyb_store_write(t->objective->cut.real, values, host, (int64_t)(bytes / sizeof *values), error);
    hyb_free(t->rt, host);
    return r;
}

static hybrid_result hyb_checkpoint_read_rider(hybrid_trainer *t, hyb_checkpoint_in *in, hybrid_error *error)
{
    hyb_rider *rider = t->rider;
    hyb_rider_array array;
    hybrid_result r = HYBRID_OK;
    int i;
    if (!rider) return HYBRID_OK;
    if (!in->rider) return rider->ops->anew(rider, error);
    for (i = 0; !r && rider->ops->array(rider, i, &array); i++)
        r = hyb_checkpoint_values(t, in, hybrid_gguf_find_tensor(in->gguf, array.name)->offset, array.values,
                                  sizeof *array.values * (size_t)array.n, error);
    if (!r) rider->ops->take(rider, in->rider, in->rider_size);
    return r;
}

static hybrid_result hyb_checkpoint_take(hybrid_trainer *t, hyb_checkpoint_in *in, hyb_trained *e, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int a;
    t->torn = true;
    for (a = HYB_CHECKPOINT_WEIGHTS; a < HYB_CHECKPOINT_ARRAYS && !r; a++) r = hyb_checkpoint_read(t, in, e, a, error);
    if (!r) r = hyb_checkpoint_read_rider(t, in, error);
    if (r) return r;
    t->torn = false;
    t->swapped = false;
    hyb_checkpoint_noise(t, in->gguf);
    t->format = in->format;
    t->step = in->step;
    hyb_free(t->rt, t->user);
    t->user = in->user;
    t->user_size = in->user_size;
    in->user = NULL;
    hyb_checkpoint_compare(t, in->gguf);
    return t->desc.adapter ? hyb_trainer_adapter_changed(t, error) : HYBRID_OK;
}

static hybrid_result hyb_checkpoint_load(hybrid_trainer *t, const hybrid_source *source, hybrid_error *error)
{
    hyb_checkpoint_in *in = (hyb_checkpoint_in *)hyb_calloc(t->rt, 1, sizeof *in);
    hyb_trained e;
    hybrid_result r;
    if (!in) return hyb_fail_memory(error, sizeof *in);
    if (!(in->sum = (hyb_checksum *)hyb_calloc(t->rt, 1, sizeof *in->sum))) {
        hyb_free(t->rt, in);
        return hyb_fail_memory(error, sizeof *in->sum);
    }
    r = hyb_trained_begin(&e, t->rt, t->model, HYBRID_MIX_F32, error);
    if (!r) r = hyb_checkpoint_open(in, t->rt, source, error);
    if (!r) r = hyb_checkpoint_check(t, in, &e, error);
    if (!r) r = hyb_checkpoint_take_format(t, in, error);
    if (!r) r = hyb_checkpoint_take(t, in, &e, error);
    hyb_trained_end(&e);
    hybrid_gguf_destroy(in->gguf);
    hyb_file_close(&in->file);
    hyb_free(t->rt, in->user);
    hyb_free(t->rt, in->rider);
    hyb_free(t->rt, in->sum);
    hyb_free(t->rt, in);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_trainer_load, (hybrid_trainer *trainer, const char *path, hybrid_error *error),
           (trainer, path, error))
{
    hybrid_source source;
    hybrid_result r;
    if (!trainer || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainer_load: %s is NULL", trainer ? "path" : "trainer");
    if ((r = hyb_trainer_between(trainer, "hybrid_trainer_load", error)) != HYBRID_OK) return r;
    memset(&source, 0, sizeof source);
    source.path = path;
    trainer->in_use = hyb_process();
    r = hyb_checkpoint_load(trainer, &source, error);
    trainer->in_use = 0;
    return r;
}

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
