/* train/merge: a model's file with adapters in its matrices: W + the sum of factor * B A, row by row. */
#ifndef HYB_TRAIN_MERGE_C
#define HYB_TRAIN_MERGE_C
#include "../infer/adapters.c"
#include "export.c"

typedef struct hyb_merged {
    hyb_trained e;
    hyb_adapter_set set;
    float *rows;    /* slab rows of a tensor */
    double *change; /* of one row */
    char *blocks;   /* the slab in its new type */
} hyb_merged;

/* row (k) += what the pair makes of output `out`, counted through all experts: summed in double, rounded once. */
static void hyb_merged_row(double *change, const hyb_adapter_pair *p, float factor, int64_t out, float *row)
{
    const int64_t k = p->a.ne[0], expert = out / p->b.ne[1];
    const float *a = (const float *)p->a.data + expert * p->rank * k, *b = (const float *)p->b.data + out * p->rank;
    int64_t i;
    int32_t r;
    memset(change, 0, (size_t)k * sizeof *change);
    for (r = 0; r < p->rank; r++, a += k) {
        const double c = (double)factor * p->scale * b[r];
        for (i = 0; i < k; i++) change[i] += c * a[i];
    }
    for (i = 0; i < k; i++) row[i] = (float)(row[i] + change[i]);
}

/* n rows of tensor w, from row `first` on, as they will be. */
static hybrid_result hyb_merged_rows(hyb_merged *m, hyb_weight w, int64_t first, size_t n, hybrid_error *error)
{
    const hyb_tensor *t = &m->e.model->weights.tensors[w];
    const hybrid_result r = hybrid_convert(m->e.rt, t->type, (const char *)t->data + (size_t)first * t->nb[1],
                                           HYBRID_TYPE_F32, m->rows, n, (size_t)t->ne[0], NULL, error);
    int32_t i;
    size_t k;
    for (i = 0; i < m->set.n && !r; i++) {
        const hyb_adapter_pair *p = hyb_adapter_pair_of(m->set.use[i].adapter, w);
        for (k = 0; p && k < n; k++)
            hyb_merged_row(m->change, p, m->set.use[i].scale, first + (int64_t)k, m->rows + k * (size_t)t->ne[0]);
    }
    return r;
}

/* A tensor that the model is computed with, some rows at a time. */
static hybrid_result hyb_merged_tensor(hyb_merged *m, const hybrid_gguf_tensor *of, const hyb_tensor *t,
                                       hybrid_error *error)
{
    const hybrid_type type = hyb_trained_type(&m->e, of, t);
    const size_t row = (size_t)t->ne[0], n_rows = (size_t)(t->ne[1] * t->ne[2]),
                 bytes = hybrid_type_row_bytes(type, row);
    const size_t slab = HYB_MIN(n_rows, HYB_TRAINED_SLAB / (row + 1) + 1);
    const hyb_weight w = (hyb_weight)(t - m->e.model->weights.tensors);
    hybrid_result r = HYBRID_OK;
    size_t i;
    m->rows = (float *)hyb_alloc(m->e.rt, slab * row * sizeof(float));
    m->change = (double *)hyb_alloc(m->e.rt, row * sizeof(double));
    m->blocks = (char *)hyb_alloc(m->e.rt, slab * bytes);
    if (!m->rows || !m->change || !m->blocks) r = hyb_fail_memory(error, slab * (row * sizeof(float) + bytes));
    for (i = 0; i < n_rows && !r; i += slab) {
        const size_t n = HYB_MIN(slab, n_rows - i);
        r = hyb_merged_rows(m, w, (int64_t)i, n, error);
        if (!r) r = hyb_trained_check(of, m->rows, n * row, type, error);
        if (!r) r = hybrid_convert(m->e.rt, HYBRID_TYPE_F32, m->rows, type, m->blocks, n, row, NULL, error);
        if (!r) r = hybrid_gguf_write(m->e.out, m->blocks, n * bytes, error);
    }
    hyb_free(m->e.rt, m->rows);
    hyb_free(m->e.rt, m->change);
    hyb_free(m->e.rt, m->blocks);
    return r;
}

static hybrid_result hyb_merged_write(hyb_merged *m, hybrid_error *error)
{
    const hybrid_gguf *gguf = m->e.model->gguf;
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < hybrid_gguf_tensor_count(gguf) && !r; i++) {
        const hybrid_gguf_tensor *of = hybrid_gguf_tensor_at(gguf, i);
        const hyb_tensor *t = hyb_trained_tensor(&m->e, i);
        if (hyb_checkpoint_owns(of->name)) continue;
        r = t ? hyb_merged_tensor(m, of, t, error) : hyb_trained_copy(&m->e, of, error);
    }
    return r;
}

HYB_BORDER(hybrid_result, hybrid_adapter_merge,
           (hybrid_model *model, hybrid_adapter *const *adapters, const float *scales, size_t n, const char *path,
            hybrid_mix mix, hybrid_error *error),
           (model, adapters, scales, n, path, mix, error))
{
    hyb_merged m;
    hybrid_result r;
    memset(&m, 0, sizeof m);
    if (!model || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_merge: %s is NULL", model ? "path" : "model");
    if (!hybrid_mix_name(mix))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_merge: there is no mix %d", (int)mix);
    if (model->place.trained)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "hybrid_adapter_merge: this model's weights are trained on a GPU; hybrid_trainer_export writes "
                        "them, and adapters are merged into what is loaded from there");
    if ((r = hyb_adapters_check(model, adapters, scales, n, &m.set, error)) != HYBRID_OK) return r;
    r = hyb_trained_begin(&m.e, model->rt, model, mix, error);
    if (!r) r = hyb_trained_keys(&m.e, error);
    if (!r) r = hyb_trained_tensors(&m.e, error);
    if (!r) r = hybrid_gguf_begin_path(m.e.out, path, error);
    if (!r) r = hyb_merged_write(&m, error);
    if (!r) r = hybrid_gguf_end(m.e.out, error);
    hyb_trained_end(&m.e);
    return r;
}
#endif
