/* train/store: what is trained, as flat arenas, and one table of named views into them.
 *
 * Weights are the memory of their owner: of a model, of an adapter, or of somebody else. Gradients are laid out alike,
 * so a parameter is the same `at` in both. The states of the optimizer are packed: it says which a parameter has.
 *
 *     weights  | token_embd | attn_norm 0 | attn_q 0 | ...          the owner's
 *     grads    | token_embd | attn_norm 0 | attn_q 0 | ...          ours, one block of memory
 *     states   | m: token_embd | attn_norm 0 | ... | v: token_embd | ...
 *
 * States may be elsewhere than on the device: parked in the host's memory between two steps, or offloaded, there for
 * good. An optimizer works on them in pieces (hyb_store_walk); offloaded ones travel in slices, through three buffers:
 *
 *     up       slice 0 | slice 1 | slice 2 | slice 3 | ...       buffers 0, 1, 2, 0, ...
 *     ops                | slice 0 | slice 1 | slice 2 | ...     whatever is done value by value has the same bits
 *     down                         | slice 0 | slice 1 | ...
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
    HYB_GROUP_TABLE,  /* a row for each token or position: embeddings, the head; or matrices of experts, in one */
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

enum { HYB_STORE_BUFFERS = 3, HYB_STORE_SLICE = 1 << 20 /* values of a state that travel at a time, at most */ };

typedef struct hyb_store {
    hybrid_runtime *rt;
    hyb_device *device; /* where the arenas are */
    hyb_param *params;
    int n_params;
    size_t room;                 /* entries of the table */
    int64_t n_values;            /* of weights and gradients */
    int64_t n_states, n_scratch; /* values */
    float *weights;              /* the owner's */
    float *grads, *states;       /* states NULL: there are none, or they are parked or offloaded */
    float *scratch;              /* of the optimizer, for one parameter after the other */
    bool offload;                /* states are in `host` for good, and go through the buffers */
    bool arriving;               /* states are on their way back from `host` */
    hyb_host_memory host;        /* where states are or were parked: as `states` is laid out */
    float *buffers;              /* (HYB_STORE_BUFFERS, kinds of states, slice) */
    int64_t slice;               /* values of a kind in a buffer */
    int n_kinds;                 /* of a buffer */
    uint64_t moved_up;           /* bytes of states that were copied to the device, */
    uint64_t moved_down;         /* and from it */
    void *states_block;          /* of states, where they may be parked */
    char *names;                 /* of parameters whose owner has none that last; NULL: there are no such */
    size_t name_bytes;
    double *sums; /* (n_params) what an op makes of each parameter: in the host's memory, */
    double *made; /* read from here */
    void *block;  /* of made, grads, states and scratch */
    size_t bytes;
} hyb_store;

/* Where a state of a parameter is on the device; NULL: it has none, or states are parked or offloaded. */
static float *hyb_store_state(const hyb_store *s, const hyb_param *p, hyb_state_kind kind)
{
    return p->state[kind] < 0 || !s->states ? NULL : s->states + p->state[kind];
}

/* Floats that n take, so that what follows begins at 64 bytes. */
static int64_t hyb_store_room(int64_t n) { return (n + 15) / 16 * 16; }

/* After the back end, which may be copying. */
static void hyb_store_free(hyb_store *s)
{
    if (s->states_block) s->device->ops->free(s->device, s->states_block);
    if (s->host.address) s->device->ops->free_host(s->device, &s->host);
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

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Whether states can be anywhere but beside the gradients. */
static bool hyb_store_can_move(const hyb_store *s) { return !s->device->ops->is_host && s->n_states > 0; }

/* Kinds of states that are worked on at the same time: moments, or the average. */
static int hyb_store_kinds(const hyb_store *s)
{
    bool has[HYB_STATES];
    int i, kind;
    memset(has, 0, sizeof has);
    for (i = 0; i < s->n_params; i++)
        for (kind = 0; kind < HYB_STATES; kind++) has[kind] = has[kind] || s->params[i].state[kind] >= 0;
    return HYB_MAX(has[HYB_STATE_M] + has[HYB_STATE_V], (int)has[HYB_STATE_EMA]);
}

/* Decides that states are offloaded, or not, once the table is complete. */
static void hyb_store_offload(hyb_store *s, bool offload)
{
    const int n_kinds = hyb_store_kinds(s);
    const int64_t some = hyb_store_room(s->n_states / HYB_MAX(n_kinds, 1) / 16); /* a small model's */
    const int64_t most = HYB_STORE_SLICE;
    s->offload = offload && hyb_store_can_move(s);
    s->n_kinds = s->offload ? n_kinds : 0;
    s->slice = s->offload ? HYB_MIN(HYB_MAX(some, 4096), HYB_MIN(hyb_store_room(s->n_states), most)) : 0;
}

static bool hyb_store_count(uint64_t n, size_t *bytes)
{
    return n < SIZE_MAX && hyb_mul_size((size_t)n, sizeof(float), bytes);
}

/* Bytes of the states; SIZE_MAX: they cannot be counted. */
static size_t hyb_store_state_bytes(const hyb_store *s)
{
    size_t bytes;
    return hyb_store_count((uint64_t)s->n_states, &bytes) ? bytes : SIZE_MAX;
}

/* Bytes of the arenas in one block: of states, too, where they cannot move; SIZE_MAX: they cannot be counted. */
static size_t hyb_store_bytes(const hyb_store *s)
{
    const uint64_t states = hyb_store_can_move(s) ? 0 : (uint64_t)s->n_states;
    const uint64_t buffers = HYB_STORE_BUFFERS * (uint64_t)s->n_kinds * (uint64_t)s->slice;
    size_t bytes;
    return hyb_store_count((uint64_t)s->n_values + states + (uint64_t)s->n_scratch + buffers +
                               (uint64_t)hyb_store_room(2 * (int64_t)s->n_params),
                           &bytes)
               ? bytes
               : SIZE_MAX;
}

/* Bytes of the device that all of it takes, and of the host besides; UINT64_MAX: they cannot be counted. */
static uint64_t hyb_store_cost(const hyb_store *s, uint64_t *host)
{
    const size_t bytes = hyb_store_bytes(s), states = hyb_store_state_bytes(s);
    uint64_t cost;
    *host = 0;
    if (bytes == SIZE_MAX || states == SIZE_MAX) return UINT64_MAX;
    cost = s->device->ops->cost(s->device, bytes);
    if (s->offload)
        *host = states;
    else if (hyb_store_can_move(s))
        cost += s->device->ops->cost(s->device, states);
    return cost;
}

static hybrid_result hyb_store_allocate_states(hyb_store *s, hybrid_error *error)
{
    hybrid_result r = s->device->ops->alloc(s->device, hyb_store_state_bytes(s), &s->states_block, error);
    s->states = (float *)s->states_block;
    return r;
}

/* The arenas, once the table is complete; the caller clears them. */
static hybrid_result hyb_store_allocate(hyb_store *s, hybrid_error *error)
{
    const size_t bytes = hyb_store_bytes(s), states = hyb_store_state_bytes(s);
    hybrid_result r;
    if (bytes == SIZE_MAX || states == SIZE_MAX) return hyb_fail_memory(error, SIZE_MAX);
    if ((r = s->device->ops->alloc(s->device, bytes, &s->block, error)) != HYBRID_OK) return r;
    s->bytes = bytes;
    s->made = (double *)s->block;
    s->grads = (float *)s->block + hyb_store_room(2 * (int64_t)s->n_params);
    if (s->offload)
        r = s->device->ops->alloc_host(s->device, states, &s->host, error);
    else if (hyb_store_can_move(s))
        r = hyb_store_allocate_states(s, error);
    else
        s->states = s->grads + s->n_values;
    s->scratch = s->grads + s->n_values + (hyb_store_can_move(s) ? 0 : s->n_states);
    s->buffers = s->scratch + s->n_scratch;
    return r;
}

/* ---- states and where they are ----------------------------------------------------------------------------------- */

/* Zeros, once there is a back end. */
static hybrid_result hyb_store_clear_all(hyb_store *s, hyb_backend *be, hybrid_error *error)
{
    hyb_store_clear(be, s->grads, s->n_values);
    if (s->states) hyb_store_clear(be, s->states, s->n_states);
    if (!s->offload) return HYBRID_OK;
    memset(s->host.address, 0, hyb_store_state_bytes(s));
    return be->ops->lanes(be, error);
}

/* Ops from now on see states that are on their way back. */
static void hyb_store_settle(hyb_store *s, hyb_backend *be)
{
    if (s->arriving) be->ops->await(be, HYB_LANE_OPS, HYB_LANE_UP);
    s->arriving = false;
}

/* States go to the host's memory, and their place on the device is free. On the host, or offloaded, they stay where
 * they are. When it fails they are where they were. */
static hybrid_result hyb_store_park(hyb_store *s, hyb_backend *be, hybrid_error *error)
{
    const size_t bytes = hyb_store_state_bytes(s);
    hybrid_result r = HYBRID_OK;
    if (!hyb_store_can_move(s) || !s->states) return HYBRID_OK;
    hyb_store_settle(s, be);
    if (!s->host.address) r = s->device->ops->alloc_host(s->device, bytes, &s->host, error);
    if (!r) r = be->ops->lanes(be, error);
    if (r) return r;
    be->ops->await(be, HYB_LANE_DOWN, HYB_LANE_OPS);
    be->ops->download(be, s->host.address, s->states, bytes);
    be->ops->await(be, HYB_LANE_OPS, HYB_LANE_DOWN);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    s->device->ops->free(s->device, s->states_block);
    s->states_block = s->states = NULL;
    s->moved_down += bytes;
    return HYBRID_OK;
}

/* Before a step: parked states come back, while the device computes: an update waits for them. HYBRID_ERROR_MEMORY:
 * their place has been taken, and they are still parked. */
static hybrid_result hyb_store_unpark(hyb_store *s, hyb_backend *be, hybrid_error *error)
{
    hybrid_result r;
    if (!hyb_store_can_move(s) || s->states) return HYBRID_OK;
    if ((r = be->ops->lanes(be, error)) != HYBRID_OK || s->offload) return r;
    if ((r = hyb_store_allocate_states(s, error)) != HYBRID_OK) return r;
    be->ops->await(be, HYB_LANE_UP, HYB_LANE_OPS);
    be->ops->upload(be, s->states, s->host.address, hyb_store_state_bytes(s));
    s->arriving = true;
    s->moved_up += hyb_store_state_bytes(s);
    return HYBRID_OK;
}

/* n values of the arena of states, from `at` on, to the host's memory or from it. */
static hybrid_result hyb_store_read_states(hyb_store *s, hyb_backend *be, float *to, int64_t at, int64_t n,
                                           hybrid_error *error)
{
    hybrid_result r;
    hyb_store_settle(s, be);
    if (s->states) return hyb_store_read(be, to, s->states + at, n, error);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r; /* in a forked process there is no such memory */
    if (n) memcpy(to, (float *)s->host.address + at, sizeof *to * (size_t)n);
    return HYBRID_OK;
}
static hybrid_result hyb_store_write_states(hyb_store *s, hyb_backend *be, int64_t at, const float *from, int64_t n,
                                            hybrid_error *error)
{
    hybrid_result r;
    hyb_store_settle(s, be);
    if (s->states) return hyb_store_write(be, s->states + at, from, n, error);
    if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
    if (n) memcpy((float *)s->host.address + at, from, sizeof *from * (size_t)n);
    return HYBRID_OK;
}

/* All states to a place on the device, as they are laid out, or from it: in the lane of ops, wherever they are. */
static void hyb_store_keep_states(hyb_store *s, hyb_backend *be, float *kept)
{
    const size_t bytes = hyb_store_state_bytes(s);
    hyb_store_settle(s, be);
    if (s->states) {
        be->ops->copy(be, kept, s->states, bytes);
        return;
    }
    if (!s->host.address) return;
    be->ops->await(be, HYB_LANE_UP, HYB_LANE_OPS);
    be->ops->upload(be, kept, s->host.address, bytes);
    be->ops->await(be, HYB_LANE_OPS, HYB_LANE_UP);
    s->moved_up += bytes;
}
static void hyb_store_restore_states(hyb_store *s, hyb_backend *be, const float *kept)
{
    const size_t bytes = hyb_store_state_bytes(s);
    hyb_store_settle(s, be);
    if (s->states) {
        be->ops->copy(be, s->states, kept, bytes);
        return;
    }
    if (!s->host.address) return;
    be->ops->await(be, HYB_LANE_DOWN, HYB_LANE_OPS);
    be->ops->download(be, s->host.address, kept, bytes);
    be->ops->await(be, HYB_LANE_OPS, HYB_LANE_DOWN);
    s->moved_down += bytes;
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* Values at .. at + n of a parameter, and where its states for them are now; NULL: it has none of that kind. */
typedef struct hyb_portion {
    const hyb_param *p;
    int64_t at, n;
    float *state[HYB_STATES];
} hyb_portion;

/* What is done with a piece: on the device, or put into the lane of ops. */
typedef hybrid_result (*hyb_portion_fn)(void *user, const hyb_portion *portion, hybrid_error *error);

/* What travels at a time: from value `at` of parameter p up to value end_at of parameter end_p, of each kind a range of
 * the arena of states. */
typedef struct hyb_slice {
    int p, end_p;
    int64_t at, end_at;
    int64_t from[HYB_STATES], n[HYB_STATES]; /* n 0: nothing of that kind */
} hyb_slice;

/* The slice that begins with value `at` of parameter p. kinds: bits, of those that are worked on. */
static hyb_slice hyb_slice_from(const hyb_store *s, unsigned kinds, int p, int64_t at)
{
    int64_t room = s->slice;
    hyb_slice o;
    int kind;
    memset(&o, 0, sizeof o);
    o.p = p;
    o.at = at;
    while (p < s->n_params && room > 0) {
        const hyb_param *q = &s->params[p];
        const int64_t n = HYB_MIN(q->n - at, room);
        for (kind = 0; kind < HYB_STATES; kind++) {
            if (q->state[kind] < 0 || !(kinds >> kind & 1)) continue;
            if (!o.n[kind]) o.from[kind] = q->state[kind] + at;
            o.n[kind] = q->state[kind] + at + hyb_store_room(n) - o.from[kind];
        }
        room -= hyb_store_room(n);
        at += n;
        if (at < q->n) continue;
        at = 0;
        p++;
    }
    o.end_p = p;
    o.end_at = at;
    return o;
}

/* Where a kind of states is in buffer i. */
static float *hyb_slice_at(const hyb_store *s, int i, int kind)
{
    const int place = kind == HYB_STATE_EMA ? 0 : HYB_MIN(kind, s->n_kinds - 1);
    return s->buffers + ((int64_t)(i % HYB_STORE_BUFFERS) * s->n_kinds + place) * s->slice;
}

/* A slice to buffer i, or back. */
static void hyb_slice_move(hyb_store *s, hyb_backend *be, const hyb_slice *o, int i, bool up)
{
    int kind;
    for (kind = 0; kind < HYB_STATES; kind++) {
        float *host = (float *)s->host.address + o->from[kind], *there = hyb_slice_at(s, i, kind);
        const size_t bytes = sizeof *host * (size_t)o->n[kind];
        if (!bytes) continue;
        if (up)
            be->ops->upload(be, there, host, bytes);
        else
            be->ops->download(be, host, there, bytes);
        *(up ? &s->moved_up : &s->moved_down) += bytes;
    }
}

/* The pieces of a slice, in buffer i. */
static hybrid_result hyb_slice_visit(const hyb_store *s, const hyb_slice *o, int i, hyb_portion_fn visit, void *user,
                                     hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int p, kind;
    for (p = o->p; !r && p < s->n_params && (p < o->end_p || (p == o->end_p && o->end_at)); p++) {
        hyb_portion portion;
        portion.p = &s->params[p];
        portion.at = p == o->p ? o->at : 0;
        portion.n = (p == o->end_p ? o->end_at : portion.p->n) - portion.at;
        for (kind = 0; kind < HYB_STATES; kind++)
            portion.state[kind] = o->n[kind] && portion.p->state[kind] >= 0
                                      ? hyb_slice_at(s, i, kind) + (portion.p->state[kind] + portion.at - o->from[kind])
                                      : NULL;
        r = visit(user, &portion, error);
    }
    return r;
}

/* All pieces of offloaded states. When slice i is begun, up holds 0..i, and down 0..i - 2. */
static hybrid_result hyb_store_walk_slices(hyb_store *s, hyb_backend *be, unsigned kinds, hyb_portion_fn visit,
                                           void *user, hybrid_error *error)
{
    hyb_slice last, now = hyb_slice_from(s, kinds, 0, 0), next = now;
    hybrid_result r = HYBRID_OK;
    int i;
    if ((r = be->ops->lanes(be, error)) != HYBRID_OK) return r; /* back ends are exchanged */
    be->ops->await(be, HYB_LANE_UP, HYB_LANE_DOWN);
    hyb_slice_move(s, be, &now, 0, true);
    for (i = 0, last = now; now.p < s->n_params && !r; i++, last = now, now = next) {
        be->ops->await(be, HYB_LANE_OPS, HYB_LANE_UP);
        next = hyb_slice_from(s, kinds, now.end_p, now.end_at);
        be->ops->await(be, HYB_LANE_UP, HYB_LANE_DOWN); /* i - 2 has left the buffer of i + 1 */
        hyb_slice_move(s, be, &next, i + 1, true);
        be->ops->await(be, HYB_LANE_DOWN, HYB_LANE_OPS); /* i - 1 is done */
        if (i) hyb_slice_move(s, be, &last, i - 1, false);
        r = hyb_slice_visit(s, &now, i, visit, user, error);
    }
    be->ops->await(be, HYB_LANE_DOWN, HYB_LANE_OPS);
    if (i && !r) hyb_slice_move(s, be, &last, i - 1, false);
    be->ops->await(be, HYB_LANE_OPS, HYB_LANE_DOWN);
    return r;
}

/* Does something with all values of all parameters and with those kinds of their states: parameter by parameter, or
 * in the slices in which states travel. */
static hybrid_result hyb_store_walk(hyb_store *s, hyb_backend *be, unsigned kinds, hyb_portion_fn visit, void *user,
                                    hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int i, kind;
    if (s->offload) return hyb_store_walk_slices(s, be, kinds, visit, user, error);
    if ((r = hyb_store_unpark(s, be, error)) != HYBRID_OK) return r;
    hyb_store_settle(s, be);
    for (i = 0; i < s->n_params && !r; i++) {
        hyb_portion portion;
        portion.p = &s->params[i];
        portion.at = 0;
        portion.n = portion.p->n;
        for (kind = 0; kind < HYB_STATES; kind++)
            portion.state[kind] = hyb_store_state(s, portion.p, (hyb_state_kind)kind);
        r = visit(user, &portion, error);
    }
    return r;
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
