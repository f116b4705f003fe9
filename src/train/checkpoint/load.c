/* train/checkpoint/load: reads the file twice: the first time to see that every byte is what was saved and fits, the
 * second time into the trainer. Between the two nothing of it is needed in memory. */
#ifndef HYB_TRAIN_CHECKPOINT_LOAD_C
#define HYB_TRAIN_CHECKPOINT_LOAD_C
#include "layout.c"

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
#endif
