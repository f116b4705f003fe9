/* train/checkpoint/layout: what stands in a checkpoint: its keys, the numbers of a descriptor among them, and its
 * tensors. */
#ifndef HYB_TRAIN_CHECKPOINT_LAYOUT_C
#define HYB_TRAIN_CHECKPOINT_LAYOUT_C
#include "../../core/checksum.c"
#include "../export.c"

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

/* ---- what it is of, and its tensors ------------------------------------------------------------------------------ */

/* Is the checkpoint a model? Else it is an adapter, or somebody else's. */
static bool hyb_checkpoint_is_model(const hybrid_trainer *t) { return t->model && !t->desc.adapter; }

/* What it is, if it is not a model of ours. */
static const char *hyb_checkpoint_own(const hybrid_trainer *t)
{
    const char *name = t->model ? "adapter" : hyb_own_of(t->objective)->name;
    return name[0] ? name : "own";
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
#endif
