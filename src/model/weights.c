/* model/weights: the tensors of a model, found by name and checked against the hyperparameters.
 *
 * They stand in one table, in the order in which they were looked up: those of the whole model, then layer by layer. A
 * part that computes with a tensor keeps its place in the table (hyb_weight). There are two tables of one model when it
 * is on a GPU as well: the same places, other addresses. The names are those of GGUF. Only tensors that are computed
 * with may be looked up: those that were found are marked, and model/unused refuses the file for the others. */
#ifndef HYB_MODEL_WEIGHTS_C
#define HYB_MODEL_WEIGHTS_C
#include "../quant/types.c"
#include "hparams.c"

typedef int32_t hyb_weight; /* a place in the table; 0: there is no such tensor (its data is NULL) */

typedef struct hyb_weights {
    hyb_tensor *tensors; /* the first is none */
    int32_t n_tensors;
    unsigned char *used;  /* a flag for each tensor of the file; NULL once the unused ones are settled */
    unsigned char *owned; /* the bytes of all tensors that are not used in place */
    size_t owned_bytes;
} hyb_weights;

typedef struct hyb_loader {
    const hybrid_gguf *gguf;
    const hyb_hparams *hp;
    hyb_weights *w;
    int layer; /* of the names that hyb_find_in_layer makes */
    hybrid_error failure; /* the first; nothing is found after it */
} hyb_loader;

/* Types that vectors may have in a file. They are computed with as F32. */
static bool hyb_is_vector_type(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_F16 || type == HYBRID_TYPE_BF16;
}

/* A matrix or vector of the file with this shape; ne0 values long is a vector when ne1 is 0, and so are the ne1 rows of
 * values that `is_vector` asks for. A wrong shape or type is an error, absence is one when `required`. */
typedef struct hyb_wanted {
    const char *name;
    int64_t ne0, ne1, ne2;
    bool is_vector, required;
} hyb_wanted;

static bool hyb_wanted_fits(const hyb_wanted *want, const hybrid_gguf_tensor *src)
{
    if (src->ne[0] != (uint64_t)want->ne0) return false;
    if (want->is_vector) return src->ne[1] * src->ne[2] * src->ne[3] == (uint64_t)want->ne1;
    return src->ne[1] == (uint64_t)want->ne1 && src->ne[2] == (uint64_t)want->ne2 && src->ne[3] == 1;
}

/* Why a tensor of the file cannot be what is wanted. */
static hybrid_result hyb_wanted_check(const hyb_wanted *want, const hybrid_gguf_tensor *src, hybrid_error *error)
{
    if (!hyb_wanted_fits(want, src))
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, src->offset,
                           "tensor '%s' is %llu x %llu x %llu, but the model's keys ask for %lld x %lld x %lld",
                           want->name, (unsigned long long)src->ne[0], (unsigned long long)src->ne[1],
                           (unsigned long long)src->ne[2], (long long)want->ne0, (long long)want->ne1,
                           (long long)want->ne2);
    if (!hybrid_type_block_bytes(src->type))
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, src->offset,
                           "tensor '%s' has type %lu (%s), which hybrid cannot run: get this model in another "
                           "quantization, Q4_K_M or Q8_0",
                           want->name, (unsigned long)src->type_id, hybrid_gguf_tensor_type_name(src->type_id));
    if (want->is_vector && !hyb_is_vector_type(src->type))
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, src->offset,
                           "tensor '%s' has type %s; vectors must be F32, F16 or BF16", want->name,
                           hybrid_type_name(src->type));
    return HYBRID_OK;
}

static hyb_weight hyb_find(hyb_loader *wl, const hyb_wanted *want)
{
    const hybrid_gguf_tensor *src = hybrid_gguf_find_tensor(wl->gguf, want->name);
    hyb_tensor *t = &wl->w->tensors[wl->w->n_tensors];
    if (wl->failure.result || (!src && !want->required)) return 0;
    if (!src) {
        hyb_keep(&wl->failure, HYBRID_ERROR_FORMAT, "the model has no tensor '%s', which its architecture '%s' needs",
                 want->name, wl->hp->arch->name);
        return 0;
    }
    if (hyb_wanted_check(want, src, &wl->failure)) return 0;
    t->source = (uint32_t)hyb_gguf_tensor_index(wl->gguf, src);
    wl->w->used[t->source] = 1;
    t->name = src->name.data;
    t->type = want->is_vector ? HYBRID_TYPE_F32 : src->type;
    t->is_vector = want->is_vector;
    t->ne[0] = want->ne0;
    t->ne[1] = want->ne1;
    t->ne[2] = want->ne2;
    t->ne[3] = 1;
    t->nb[0] = hybrid_type_block_bytes(t->type);
    t->nb[1] = hybrid_type_row_bytes(t->type, (size_t)want->ne0);
    t->nb[2] = t->nb[1] * (size_t)t->ne[1];
    t->nb[3] = t->nb[2] * (size_t)t->ne[2];
    /* NULL when not in place, until hyb_weights_read: an odd address is not a place, and a vector of halves becomes
     * one of floats */
    t->data = (uintptr_t)src->data % 8 || t->type != src->type ? NULL : src->data;
    return wl->w->n_tensors++;
}

static hyb_weight hyb_find_matrix(hyb_loader *wl, bool required, int64_t ne0, int64_t ne1, const char *name)
{
    hyb_wanted want = { NULL, ne0, ne1, 1, false, required };
    want.name = name;
    return hyb_find(wl, &want);
}
static hyb_weight hyb_find_vector(hyb_loader *wl, bool required, int64_t n, const char *name)
{
    hyb_wanted want = { NULL, n, 1, 1, true, required };
    want.name = name;
    return hyb_find(wl, &want);
}

enum { HYB_NAME_ROOM = 64 }; /* for the name of a tensor that we look up */

/* The same in the loader's layer: "blk.3." and the name. */
static hyb_weight hyb_layer_find(hyb_loader *wl, hyb_wanted *want, const char *name)
{
    char whole[HYB_NAME_ROOM];
    snprintf(whole, sizeof whole, "blk.%d.%s", wl->layer, name);
    want->name = whole;
    return hyb_find(wl, want);
}
static hyb_weight hyb_layer_matrix(hyb_loader *wl, bool required, int64_t ne0, int64_t ne1, const char *name)
{
    hyb_wanted want = { NULL, ne0, ne1, 1, false, required };
    return hyb_layer_find(wl, &want, name);
}
static hyb_weight hyb_layer_vector(hyb_loader *wl, bool required, int64_t n, const char *name)
{
    hyb_wanted want = { NULL, n, 1, 1, true, required };
    return hyb_layer_find(wl, &want, name);
}
/* Rows of values that are added or multiplied, not products' rows. */
static hyb_weight hyb_layer_vectors(hyb_loader *wl, bool required, int64_t n, int64_t rows, const char *name)
{
    hyb_wanted want = { NULL, n, rows, 1, true, required };
    return hyb_layer_find(wl, &want, name);
}
/* A matrix for each expert. */
static hyb_weight hyb_layer_matrices(hyb_loader *wl, int64_t ne0, int64_t ne1, int64_t ne2, const char *name)
{
    hyb_wanted want = { NULL, ne0, ne1, ne2, false, true };
    return hyb_layer_find(wl, &want, name);
}
static bool hyb_layer_has(const hyb_loader *wl, const char *name)
{
    char whole[HYB_NAME_ROOM];
    snprintf(whole, sizeof whole, "blk.%d.%s", wl->layer, name);
    return hybrid_gguf_find_tensor(wl->gguf, whole) != NULL;
}

static size_t hyb_weight_bytes(const hyb_tensor *t) { return t->nb[3]; }

/* dst = a tensor of the file as floats. Its blocks are read to the end of dst, and leave it piece by piece: what is
 * written never reaches what is still to be read. */
static hybrid_result hyb_floats_read(hybrid_gguf *gguf, const hybrid_gguf_tensor *src, unsigned char *dst,
                                     hybrid_error *error)
{
    const size_t n = (size_t)(src->ne[0] * src->ne[1] * src->ne[2] * src->ne[3]);
    const hyb_type_traits *type = hyb_type_info(src->type);
    const unsigned char *blocks = dst + sizeof(float) * n - (size_t)src->size;
    unsigned char piece[HYB_QK_K * sizeof(float)];
    size_t i, part;
    hybrid_result r;
    if (src->type == HYBRID_TYPE_F32) return hybrid_gguf_read_tensor(gguf, src, dst, error);
    if ((r = hybrid_gguf_read_tensor(gguf, src, dst + (blocks - dst), error)) != HYBRID_OK) return r;
    for (i = 0; i < n; i += part) {
        size_t bytes;
        part = HYB_MIN(n - i, (size_t)HYB_QK_K);
        bytes = part / type->block_size * type->block_bytes;
        memcpy(piece, blocks, bytes);
        blocks += bytes;
        type->dequantize_row(piece, (float *)(void *)(dst + sizeof(float) * i), part);
    }
    return HYBRID_OK;
}

/* All tensors become floats in own memory, for training. */
static void hyb_weights_as_floats(hyb_weights *w)
{
    int32_t i;
    for (i = 1; i < w->n_tensors; i++) {
        hyb_tensor *t = &w->tensors[i];
        t->type = HYBRID_TYPE_F32;
        t->nb[0] = sizeof(float);
        t->nb[1] = sizeof(float) * (size_t)t->ne[0];
        t->nb[2] = t->nb[1] * (size_t)t->ne[1];
        t->nb[3] = t->nb[2] * (size_t)t->ne[2];
        t->data = NULL;
    }
}

/* Room for every tensor of the file, for the place that stands for none, and for the embedding once more as a head. */
static hybrid_result hyb_weights_create(hyb_weights *w, hybrid_runtime *rt, const hybrid_gguf *gguf,
                                        hybrid_error *error)
{
    const size_t n = hybrid_gguf_tensor_count(gguf), bytes = (n + 2) * sizeof *w->tensors;
    if (!(w->tensors = (hyb_tensor *)hyb_calloc(rt, n + 2, sizeof *w->tensors))) return hyb_fail_memory(error, bytes);
    if (!(w->used = (unsigned char *)hyb_calloc(rt, n, 1))) return hyb_fail_memory(error, n);
    w->n_tensors = 1;
    return HYBRID_OK;
}

/* Bytes of own memory that hyb_weights_read takes: 0 when the file is used in place. */
static size_t hyb_weights_bytes(const hyb_weights *w)
{
    size_t bytes = 0;
    int32_t i;
    for (i = 1; i < w->n_tensors; i++)
        if (!w->tensors[i].data && !w->tensors[i].same_as) bytes += hyb_align(hyb_weight_bytes(&w->tensors[i]), 64);
    return bytes;
}

/* Bytes of the file that are used where they are. */
static uint64_t hyb_weights_in_place(const hyb_weights *w)
{
    uint64_t bytes = 0;
    int32_t i;
    for (i = 1; i < w->n_tensors; i++)
        if (w->tensors[i].data && !w->tensors[i].same_as) bytes += hyb_weight_bytes(&w->tensors[i]);
    return bytes;
}

static const hybrid_gguf_tensor *hyb_weights_source(const hybrid_gguf *gguf, const hyb_tensor *t)
{
    return hybrid_gguf_tensor_at(gguf, t->source);
}

/* Reads the tensors that are not used in place. progress may be NULL. */
static hybrid_result hyb_weights_read(hybrid_runtime *rt, hybrid_gguf *gguf, hyb_weights *w,
                                      bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    const size_t bytes = hyb_weights_bytes(w);
    size_t at = 0;
    int32_t i;
    if (!bytes) return HYBRID_OK;
    if (!(w->owned = (unsigned char *)hyb_alloc_streamed(rt, bytes))) return hyb_fail_memory(error, bytes);
    w->owned_bytes = bytes;
    for (i = 1; i < w->n_tensors; i++) {
        hyb_tensor *t = &w->tensors[i];
        const hybrid_gguf_tensor *src = hyb_weights_source(gguf, t);
        hybrid_result r;
        if (t->same_as) t->data = w->tensors[t->same_as].data;
        if (t->data) continue;
        r = t->type != src->type ? hyb_floats_read(gguf, src, w->owned + at, error)
                                 : hybrid_gguf_read_tensor(gguf, src, w->owned + at, error);
        if (r) return r;
        t->data = w->owned + at;
        at += hyb_align(hyb_weight_bytes(t), 64);
        if (!hyb_report(progress, user, (float)((double)at / (double)bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    return HYBRID_OK;
}

static void hyb_weights_free(hybrid_runtime *rt, hyb_weights *w)
{
    hyb_free_aligned(rt, w->owned);
    hyb_free(rt, w->used);
    hyb_free(rt, w->tensors);
}
#endif
