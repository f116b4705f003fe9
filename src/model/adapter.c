/* model/adapter: low-rank changes of matrices: what an adapter is, and which matrices it can change.
 *
 * All its values are in one flat arena, pair after pair, each matrix a multiple of 16 floats (64 bytes) from the next,
 * with zeros between:
 *
 *     values   [ A of pair 0 (rank, k) ][ B of pair 0 (out, rank) ][ A of pair 1 ][ B of pair 1 ] ...
 *
 * Where the matrix is that of all experts, so are A (n_expert, rank, k) and B (n_expert, out, rank).
 *
 * The pairs stand in the order of the model's table of tensors; hyb_adapter_pair_of finds that of a matrix. A pass
 * finds the adapters of a row by its run (hyb_products, in pass.c).
 *
 * That is what is trained, saved and merged, and what a GPU and experts read. Other layers on the host read a copy
 * (model/adapter_worn.c). */
#ifndef HYB_MODEL_ADAPTER_C
#define HYB_MODEL_ADAPTER_C
#include "../api/adapter.h"
#include "../compute/backend.c"
#include "weights.c"

/* What is added to matrix w: scale * B A. */
typedef struct hyb_adapter_pair {
    hyb_weight w;
    int32_t rank;
    float scale;
    size_t a_at, b_at; /* of their first values in the arena */
    hyb_tensor a, b;   /* ne = { k, rank } and { rank, out }, F32, in the host's memory; ne[2]: of so many experts */
    hybrid_type like;  /* the type of its values that goes with that of w: F32, F16 or Q8_0 */
    /* what passes on the host read, as hyb_matmul_low wants it, and its factor (model/adapter_worn.c) */
    hyb_tensor worn_a, worn_b;
    float worn_scale;
    volatile uint64_t worn_of; /* `changes` when it was made */
} hyb_adapter_pair;

typedef struct hyb_pupil hyb_pupil;

struct hybrid_adapter {
    hybrid_runtime *rt;
    hybrid_model *model;
    uint64_t references; /* the caller's, and one for each context that has it in a set */
    float alpha;
    int32_t max_rank, n_pairs;
    hyb_adapter_pair *pairs;
    int32_t n_weights; /* of the model's table */
    int32_t *pair_of;  /* n_weights: 1 + the pair of a tensor, or 0 */
    float *values;     /* n_values, 64-byte aligned */
    size_t n_values;
    float *kept; /* NULL, or the values that a rollback goes back to */
    bool typed;  /* the caller has said in which type the host reads it: */
    hybrid_type type;
    volatile uint64_t changes; /* how often the values were new: at least 1 */
    char *worn;                /* worn_bytes, 64-byte aligned: what the host reads */
    size_t worn_bytes;
    hyb_spin worn_lock; /* held while a pair is copied */
    hyb_device *gpu;    /* NULL, or where a copy of the values is */
    void *gpu_values;
    uint64_t in_use;    /* a call that trains it is under way: its callbacks may not begin another */
    hyb_pupil *learner; /* of train/learn, and what ends it; NULL: it never learned */
    void (*learner_free)(hyb_pupil *learner);
};

/* One after the other on top of a model: what a sequence wears. */
typedef struct hyb_adapter_use {
    hybrid_adapter *adapter;
    float scale;
} hyb_adapter_use;
typedef struct hyb_adapter_set {
    int32_t n;
    bool used; /* for those that keep a table of them */
    hyb_adapter_use use[HYBRID_SEQ_MAX_ADAPTERS];
} hyb_adapter_set;

/* The pair of a matrix, or NULL. Its A and B for backward: values + a_at and b_at, as views of the arena. */
static const hyb_adapter_pair *hyb_adapter_pair_of(const hybrid_adapter *adapter, hyb_weight w)
{
    const int32_t pair = w < adapter->n_weights ? adapter->pair_of[w] : 0;
    return pair ? &adapter->pairs[pair - 1] : NULL;
}

/* ---- which matrices ---- */

/* "attn_q" of "blk.3.attn_q.weight"; an empty name where the tensor is not one of a layer. */
static hybrid_string hyb_adapter_target(const char *name)
{
    hybrid_string target = { NULL, 0 };
    const char *p = name;
    size_t n;
    if (strncmp(p, "blk.", 4)) return target;
    for (p += 4; *p >= '0' && *p <= '9'; p++) {}
    n = strlen(p);
    if (n < 9 || *p != '.' || strcmp(p + n - 7, ".weight")) return target;
    target.data = p + 1;
    target.size = n - 8;
    return target;
}

static bool hyb_adapter_is_router(hybrid_string target) { return hyb_string_begins(target, "ffn_gate_inp"); }

/* Why a tensor of the model cannot be changed; NULL: it can. */
static const char *hyb_adapter_cannot(const hyb_tensor *t, const char *name)
{
    const hybrid_string target = hyb_adapter_target(name);
    if (!target.size) return "only matrices of layers can be changed, not embeddings and heads";
    if (t->is_vector) return "it is a vector";
    return NULL;
}

/* ---- the arena ---- */

/* n: matrices, one a expert, or 1. */
static void hyb_adapter_matrix(hyb_tensor *t, int64_t ne0, int64_t ne1, int64_t n)
{
    memset(t, 0, sizeof *t);
    t->type = HYBRID_TYPE_F32;
    t->ne[0] = ne0;
    t->ne[1] = ne1;
    t->ne[2] = n;
    t->ne[3] = 1;
    t->nb[0] = sizeof(float);
    t->nb[1] = sizeof(float) * (size_t)ne0;
    t->nb[2] = t->nb[1] * (size_t)ne1;
    t->nb[3] = t->nb[2] * (size_t)n;
}

/* Values of A or B. */
static size_t hyb_adapter_count(const hyb_tensor *t) { return (size_t)(t->ne[0] * t->ne[1] * t->ne[2]); }

/* The sizes and places of all pairs, whose w and rank are set. Returns the number of values; 0: beyond the address
 * space. */
static size_t hyb_adapter_layout(hybrid_adapter *adapter, const hyb_tensor *tensors)
{
    size_t n = 0;
    int32_t i;
    for (i = 0; i < adapter->n_pairs; i++) {
        hyb_adapter_pair *p = &adapter->pairs[i];
        const hyb_tensor *w = &tensors[p->w];
        size_t ranks, a, b;
        if (!hyb_mul_size((size_t)w->ne[2], (size_t)p->rank, &ranks) ||
            !hyb_mul_size((size_t)w->ne[0], ranks, &a) || !hyb_mul_size((size_t)w->ne[1], ranks, &b) ||
            a > SIZE_MAX / 16 || b > SIZE_MAX / 16)
            return 0;
        hyb_adapter_matrix(&p->a, w->ne[0], p->rank, w->ne[2]);
        hyb_adapter_matrix(&p->b, p->rank, w->ne[1], w->ne[2]);
        p->like = w->type == HYBRID_TYPE_F32                                  ? HYBRID_TYPE_F32
                  : w->type == HYBRID_TYPE_F16 || w->type == HYBRID_TYPE_BF16 ? HYBRID_TYPE_F16
                                                                              : HYBRID_TYPE_Q8_0;
        p->scale = adapter->alpha != 0 ? adapter->alpha / (float)p->rank : 1.0f;
        p->a_at = n;
        p->b_at = n + hyb_align(a, 16);
        n = p->b_at + hyb_align(b, 16);
        if (n > SIZE_MAX / 16) return 0;
        adapter->pair_of[p->w] = 1 + i;
        adapter->max_rank = HYB_MAX(adapter->max_rank, p->rank);
    }
    return n;
}

/* A matrix of a pair where the ops of a device find it. */
static hyb_tensor hyb_adapter_on(const hybrid_adapter *adapter, const hyb_tensor *t, const hyb_device *device)
{
    hyb_tensor there = *t;
    if (!device->ops->is_host)
        there.data = (const char *)adapter->gpu_values + ((const char *)t->data - (const char *)adapter->values);
    return there;
}

/* The copy on the GPU was trained there: the host's values follow. */
static hybrid_result hyb_adapter_fetch(hybrid_adapter *adapter, hyb_backend *be, hybrid_error *error)
{
    be->ops->read(be, adapter->values, adapter->gpu_values, adapter->n_values * sizeof(float));
    hyb_atomic_add(&adapter->changes, 1);
    return be->ops->sync(be, error);
}

/* Values have changed: the copies follow, that on the GPU at once. No pass of the model is under way. */
static hybrid_result hyb_adapter_changed(hybrid_adapter *adapter, hybrid_error *error)
{
    hyb_device *gpu = adapter->gpu;
    hybrid_result r;
    hyb_atomic_add(&adapter->changes, 1);
    if (!gpu) return HYBRID_OK;
    r = gpu->ops->write(gpu, adapter->gpu_values, adapter->values, adapter->n_values * sizeof(float), error);
    return r ? r : gpu->ops->flush(gpu, error);
}

/* What it is now is kept, before it is trained for the first time. */
static hybrid_result hyb_adapter_keep(hybrid_adapter *adapter, hybrid_error *error)
{
    const size_t bytes = adapter->n_values * sizeof(float);
    if (adapter->kept) return HYBRID_OK;
    if (!(adapter->kept = (float *)hyb_alloc_aligned(adapter->rt, bytes))) return hyb_fail_memory(error, bytes);
    memcpy(adapter->kept, adapter->values, bytes);
    return HYBRID_OK;
}

/* ---- those that hold it ---- */

static void hyb_adapter_free(hybrid_adapter *adapter)
{
    hybrid_runtime *rt = adapter->rt;
    if (adapter->learner) adapter->learner_free(adapter->learner);
    if (adapter->gpu_values) {
        adapter->gpu->ops->flush(adapter->gpu, NULL);
        adapter->gpu->ops->free(adapter->gpu, adapter->gpu_values);
    }
    hyb_free_aligned(rt, adapter->kept);
    hyb_free_aligned(rt, adapter->worn);
    hyb_free_aligned(rt, adapter->values);
    hyb_free(rt, adapter->pair_of);
    hyb_free(rt, adapter->pairs);
    hyb_free(rt, adapter);
    hyb_runtime_release(rt);
}
static void hyb_adapter_retain(hybrid_adapter *adapter) { hyb_atomic_add(&adapter->references, 1); }
static void hyb_adapter_release(hybrid_adapter *adapter)
{
    if (adapter && hyb_atomic_add(&adapter->references, (uint64_t)-1) == 1) hyb_adapter_free(adapter);
}
#endif
