/* train/store: what is trained, as flat arenas, and one table of named views into them.
 *
 * Weights are the memory of their owner: of a model, of an adapter, or of somebody else. Gradients are laid out alike,
 * so a parameter is the same `at` in both. The states of the optimizer are packed: it says which a parameter has.
 *
 *     weights  | token_embd | attn_norm 0 | attn_q 0 | ...          the owner's
 *     grads    | token_embd | attn_norm 0 | attn_q 0 | ...          ours, one block of memory
 *     states   | m: token_embd | attn_norm 0 | ... | v: token_embd | ...
 *
 * Whoever walks over what is trained - norm, optimizer, checkpoint - does it in a loop over the views. The arenas are
 * in the memory of the device that computes; only store.c and the back end's ops touch what is in them. */
#ifndef HYB_TRAIN_STORE_C
#define HYB_TRAIN_STORE_C
#include "../api/gguf.h"
#include "../core/base.c"
#include "../compute/call.c"

/* What a parameter is, for optimizers that tell them apart. */
typedef enum hyb_group {
    HYB_GROUP_MATRIX, /* of a hidden layer */
    HYB_GROUP_TABLE,  /* a row for each token or position: embeddings, the head */
    HYB_GROUP_VECTOR  /* norms, biases */
} hyb_group;

/* What is kept of a parameter besides its weights: momentum, second moment, the average of the weights. Not every
 * parameter has each. */
typedef enum hyb_state_kind { HYB_STATE_M, HYB_STATE_V, HYB_STATE_EMA, HYB_STATES } hyb_state_kind;

typedef struct hyb_param {
    hybrid_string name;
    int64_t at, n;             /* n = rows * cols values at `at` of weights and gradients */
    int64_t rows, cols;        /* row by row; of a vector rows = 1 */
    int64_t state[HYB_STATES]; /* where its states are in the arena of states; -1: it has none */
    hyb_group group;
    int family; /* of matrices and tables that predictions tell apart, 0..7; -1: of none */
    bool decays;
} hyb_param;

typedef struct hyb_store {
    hybrid_runtime *rt;
    hyb_device *device; /* where the arenas are */
    hyb_param *params;
    int n_params;
    size_t room;                 /* entries of the table */
    int64_t n_values;            /* of weights and gradients */
    int64_t n_states, n_scratch; /* values */
    float *weights;              /* the owner's */
    float *grads, *states;
    float *scratch; /* of the optimizer, for one parameter after the other */
    char *names;    /* of parameters whose owner has none that last; NULL: there are no such */
    size_t name_bytes;
    double *sums;   /* (n_params) what an op makes of each parameter: in the host's memory, */
    double *made;   /* read from here */
    void *block;    /* of made, grads, states and scratch */
    size_t bytes;
} hyb_store;

/* Where a state of a parameter is; NULL: it has none. */
static float *hyb_store_state(const hyb_store *s, const hyb_param *p, hyb_state_kind kind)
{
    return p->state[kind] < 0 ? NULL : s->states + p->state[kind];
}

/* Floats that n take, so that what follows begins at 64 bytes. */
static int64_t hyb_store_room(int64_t n) { return (n + 15) / 16 * 16; }

static void hyb_store_free(hyb_store *s)
{
    if (s->block) s->device->ops->free(s->device, s->block);
    hyb_free(s->rt, s->params);
    hyb_free(s->rt, s->names);
    hyb_free(s->rt, s->sums);
    memset(s, 0, sizeof *s);
}

/* Room for a table of up to n parameters, over n_values weights of their owner. The caller fills it with
 * hyb_store_add, and then asks for the arenas. */
static hybrid_result hyb_store_begin(hyb_store *s, hybrid_runtime *rt, hyb_device *device, float *weights,
                                     int64_t n_values, size_t n, hybrid_error *error)
{
    memset(s, 0, sizeof *s);
    s->rt = rt;
    s->device = device;
    s->weights = weights;
    s->n_values = n_values;
    s->room = n + 1;
    if (!(s->params = (hyb_param *)hyb_calloc(rt, n + 1, sizeof *s->params)) ||
        !(s->sums = (double *)hyb_calloc(rt, n + 1, sizeof *s->sums)))
        return hyb_fail_memory(error, (n + 1) * sizeof *s->params);
    return HYBRID_OK;
}

/* Bytes of the tables. */
static size_t hyb_store_table_bytes(const hyb_store *s)
{
    return s->room * (sizeof *s->params + sizeof *s->sums) + s->name_bytes;
}

/* One more parameter: rows * cols weights from at on; the name is the owner's. */
static hyb_param *hyb_store_add(hyb_store *s, hybrid_string name, int64_t at, int64_t rows, int64_t cols,
                                hyb_group group)
{
    hyb_param *p = &s->params[s->n_params++];
    int i;
    p->name = name;
    p->at = at;
    p->n = rows * cols;
    p->rows = rows;
    p->cols = cols;
    p->group = group;
    p->family = group == HYB_GROUP_VECTOR ? -1 : 0;
    for (i = 0; i < HYB_STATES; i++) p->state[i] = -1;
    return p;
}

/* A state of a parameter, at the end of those that there are. */
static void hyb_store_add_state(hyb_store *s, hyb_param *p, hyb_state_kind kind)
{
    p->state[kind] = s->n_states;
    s->n_states += hyb_store_room(p->n);
}

/* Zeros, once there is a back end. */
static void hyb_store_clear(hyb_backend *be, float *values, int64_t n)
{
    be->ops->zero(be, values, sizeof *values * (size_t)n);
}

/* Values of the device's memory to the host's, and back. */
static hybrid_result hyb_store_read(hyb_backend *be, float *host, const float *values, int64_t n, hybrid_error *error)
{
    be->ops->read(be, host, values, sizeof *values * (size_t)n);
    return be->ops->sync(be, error);
}
static hybrid_result hyb_store_write(hyb_backend *be, float *values, const float *host, int64_t n, hybrid_error *error)
{
    be->ops->write(be, values, host, sizeof *values * (size_t)n);
    return be->ops->sync(be, error);
}

/* Bytes of the arenas; SIZE_MAX: they cannot be counted. */
static size_t hyb_store_bytes(const hyb_store *s)
{
    size_t bytes;
    const uint64_t n = (uint64_t)s->n_values + (uint64_t)s->n_states + (uint64_t)s->n_scratch +
                       (uint64_t)hyb_store_room(2 * (int64_t)s->n_params);
    return n < SIZE_MAX && hyb_mul_size((size_t)n, sizeof(float), &bytes) ? bytes : SIZE_MAX;
}

/* The arenas, once the table is complete; the caller clears them. */
static hybrid_result hyb_store_allocate(hyb_store *s, hybrid_error *error)
{
    const size_t bytes = hyb_store_bytes(s);
    hybrid_result r;
    if (bytes == SIZE_MAX) return hyb_fail_memory(error, bytes);
    if ((r = s->device->ops->alloc(s->device, bytes, &s->block, error)) != HYBRID_OK) return r;
    s->bytes = bytes;
    s->made = (double *)s->block;
    s->grads = (float *)s->block + hyb_store_room(2 * (int64_t)s->n_params);
    s->states = s->grads + s->n_values;
    s->scratch = s->states + s->n_states;
    return HYBRID_OK;
}

/* *squares: the sum of the squares of all gradients. */
static hybrid_result hyb_store_squares(const hyb_store *s, hyb_backend *be, double *squares, hybrid_error *error)
{
    hyb_op_squares op;
    hybrid_result r;
    int i;
    for (i = 0; i < s->n_params; i++) {
        op.x = s->grads + s->params[i].at;
        op.n = s->params[i].n;
        op.sum = &s->made[i];
        hyb_do_squares(be, &op);
    }
    be->ops->read(be, s->sums, s->made, sizeof *s->sums * (size_t)s->n_params);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    for (*squares = 0, i = 0; i < s->n_params; i++) *squares += s->sums[i];
    return HYBRID_OK;
}
#endif
