/* predict/displacement: where weights were, and where they went: what is predicted lies in the span of this.
 *
 *     anchor   the weights at the beginning of a window of true steps
 *     d        = weights - anchor: what the window's steps did
 *     b        = mu b + d, at the end of a window: what persists adds up, what is noise cancels
 *     s        = gamma s + (1 - gamma) d: the mean displacement of a window, over many
 *     mean     an average of the weights, of which each step renews a part
 *     last     = d of the window before: b has it in it, and after a move anchor has not
 *     added    all that weights were moved by
 *
 * Each is an arena laid out as the weights. d counts true steps alone: after a move the anchor begins anew, or goes
 * along, so a prediction never feeds on itself but through b. The snapshot is a copy of everything that a step changes,
 * weights and states of the optimizer included, so that going back has the very bits. */
#ifndef HYB_PREDICT_DISPLACEMENT_C
#define HYB_PREDICT_DISPLACEMENT_C
#include "../train/store.c"

/* Kinds of parameters that are predicted apart: embeddings with a tied head, queries, keys, values, outputs, feed
 * forward in and out, a head of its own; and vectors, which are moved along only if the caller says so. */
enum { HYB_FAMILIES = 8, HYB_FAMILY_VECTORS = HYB_FAMILIES, HYB_FAMILY_ALL };

/* Arenas besides anchor and b, and the snapshot: a bit for each. */
enum { HYB_HAS_S = 1, HYB_HAS_MEAN = 2, HYB_HAS_LAST = 4, HYB_HAS_ADDED = 8, HYB_HAS_SNAPSHOT = 16 };

typedef struct hyb_displacement {
    hyb_store *store;
    hyb_backend *be;
    float *block;
    size_t bytes;
    float *anchor, *b, *s, *mean, *last, *added; /* from s on they may be NULL */
    float *kept;         /* the snapshot: weights, states, anchor and what follows it; or NULL */
    int n_arenas;        /* from anchor on, that there are */
    double *made, *sums; /* (n_params, HYB_GRAM_SUMS) on the device; the host's copy */
} hyb_displacement;

/* Sums of products over the parameters of a family; see hyb_displacement_look. */
typedef struct hyb_family_sums {
    double of[HYB_GRAM_SUMS];
} hyb_family_sums;
enum { HYB_DD, HYB_DB, HYB_DS, HYB_DR, HYB_BB, HYB_BS, HYB_BR, HYB_SS, HYB_SR, HYB_RR };

/* How weights are moved: coefficients of a family's directions. */
typedef struct hyb_move {
    float d, b, s, r;
} hyb_move;

static int hyb_displacement_arenas(unsigned has)
{
    return 2 + !!(has & HYB_HAS_S) + !!(has & HYB_HAS_MEAN) + !!(has & HYB_HAS_LAST) + !!(has & HYB_HAS_ADDED);
}

/* Floats of the block. */
static uint64_t hyb_displacement_values(const hyb_store *store, unsigned has)
{
    const uint64_t n = (uint64_t)store->n_values, arenas = (uint64_t)hyb_displacement_arenas(has);
    const uint64_t sums = (uint64_t)hyb_store_room(2 * HYB_GRAM_SUMS * (int64_t)store->n_params);
    return sums + arenas * n + (has & HYB_HAS_SNAPSHOT ? n + (uint64_t)store->n_states + arenas * n : 0);
}

static void hyb_displacement_free(hyb_displacement *d)
{
    const hyb_store *store = d->store;
    if (!store) return;
    if (d->block) store->device->ops->free(store->device, d->block);
    hyb_free(store->rt, d->sums);
    memset(d, 0, sizeof *d);
}

/* The next n floats of the block; NULL: there is no such arena. */
static float *hyb_displacement_arena(float **at, bool has, int64_t n)
{
    float *arena = *at;
    if (!has) return NULL;
    *at += n;
    return arena;
}

static void hyb_displacement_lay(hyb_displacement *d, unsigned has)
{
    const int64_t n = d->store->n_values;
    float *at = d->block + hyb_store_room(2 * HYB_GRAM_SUMS * (int64_t)d->store->n_params);
    d->made = (double *)(void *)d->block;
    d->anchor = hyb_displacement_arena(&at, true, n);
    d->b = hyb_displacement_arena(&at, true, n);
    d->s = hyb_displacement_arena(&at, has & HYB_HAS_S, n);
    d->mean = hyb_displacement_arena(&at, has & HYB_HAS_MEAN, n);
    d->last = hyb_displacement_arena(&at, has & HYB_HAS_LAST, n);
    d->added = hyb_displacement_arena(&at, has & HYB_HAS_ADDED, n);
    d->n_arenas = hyb_displacement_arenas(has);
    d->kept = has & HYB_HAS_SNAPSHOT ? at : NULL;
}

/* has: of HYB_HAS_S and those after it. */
static hybrid_result hyb_displacement_create(hyb_displacement *d, hyb_store *store, hyb_backend *be, unsigned has,
                                             hybrid_error *error)
{
    const uint64_t values = hyb_displacement_values(store, has);
    void *block = NULL;
    hybrid_result r;
    memset(d, 0, sizeof *d);
    d->store = store;
    d->be = be;
    if (values > SIZE_MAX / sizeof(float)) return hyb_fail_memory(error, SIZE_MAX);
    d->bytes = (size_t)values * sizeof(float);
    d->sums = (double *)hyb_calloc(store->rt, HYB_GRAM_SUMS * (size_t)HYB_MAX(store->n_params, 1), sizeof *d->sums);
    if (!d->sums) return hyb_fail_memory(error, HYB_GRAM_SUMS * sizeof *d->sums * (size_t)store->n_params);
    r = store->device->ops->alloc(store->device, d->bytes, &block, error);
    if (r) {
        hyb_displacement_free(d);
        return r;
    }
    d->block = (float *)block;
    hyb_displacement_lay(d, has);
    hyb_store_clear(be, d->block, (int64_t)values);
    return be->ops->sync(be, error);
}

static void hyb_displacement_copy(hyb_displacement *d, float *to, const float *from, int64_t n)
{
    d->be->ops->copy(d->be, to, from, sizeof *to * (size_t)n);
}

/* A window begins with the weights of now. */
static void hyb_displacement_anchor(hyb_displacement *d)
{
    hyb_displacement_copy(d, d->anchor, d->store->weights, d->store->n_values);
}

/* All of it begins anew. */
static void hyb_displacement_begin(hyb_displacement *d)
{
    hyb_displacement_anchor(d);
    hyb_store_clear(d->be, d->b, d->store->n_values);
    if (d->s) hyb_store_clear(d->be, d->s, d->store->n_values);
    if (d->last) hyb_store_clear(d->be, d->last, d->store->n_values);
    if (d->added) hyb_store_clear(d->be, d->added, d->store->n_values);
    if (d->mean) hyb_displacement_copy(d, d->mean, d->store->weights, d->store->n_values);
}

/* After a step: the mean takes up 1 - keep of the weights. */
static void hyb_displacement_average(hyb_displacement *d, float keep)
{
    hyb_op_lerp op;
    int i;
    if (!d->mean) return;
    for (i = 0; i < d->store->n_params; i++) {
        const hyb_param *p = &d->store->params[i];
        op.a = op.out = d->mean + p->at;
        op.b = d->store->weights + p->at;
        op.n = p->n;
        op.t = 1.0f - keep;
        hyb_do_lerp(d->be, &op);
    }
}

static int hyb_family_of(const hyb_param *p) { return p->family < 0 ? HYB_FAMILY_VECTORS : p->family; }

/* Products of d, b, s and r, as HYB_DD and the rest, over each family and over all of them. r = mean - weights; without
 * a mean r = last. */
static hybrid_result hyb_displacement_look(hyb_displacement *d, hyb_family_sums sums[HYB_FAMILY_ALL + 1],
                                           hybrid_error *error)
{
    const hyb_store *store = d->store;
    hyb_op_gram op;
    hybrid_result r;
    int i, j;
    memset(&op, 0, sizeof op);
    memset(sums, 0, sizeof *sums * (HYB_FAMILY_ALL + 1));
    for (i = 0; i < store->n_params; i++) {
        const hyb_param *p = &store->params[i];
        op.a[0] = store->weights + p->at;
        op.b[0] = d->anchor + p->at;
        op.a[1] = d->b + p->at;
        op.a[2] = d->s ? d->s + p->at : NULL;
        op.a[3] = d->mean ? d->mean + p->at : d->last ? d->last + p->at : NULL;
        op.b[3] = d->mean ? store->weights + p->at : NULL;
        op.n = p->n;
        op.sums = d->made + HYB_GRAM_SUMS * (size_t)i;
        hyb_do_gram(d->be, &op);
    }
    d->be->ops->read(d->be, d->sums, d->made, HYB_GRAM_SUMS * sizeof *d->sums * (size_t)store->n_params);
    if ((r = d->be->ops->sync(d->be, error)) != HYBRID_OK) return r;
    for (i = 0; i < store->n_params; i++)
        for (j = 0; j < HYB_GRAM_SUMS; j++) {
            sums[hyb_family_of(&store->params[i])].of[j] += d->sums[HYB_GRAM_SUMS * i + j];
            sums[HYB_FAMILY_ALL].of[j] += d->sums[HYB_GRAM_SUMS * i + j];
        }
    return HYBRID_OK;
}

/* The sum of the squares of all weights, or of an arena, as one number. */
static hybrid_result hyb_displacement_size(hyb_displacement *d, const float *values, double *squares,
                                           hybrid_error *error)
{
    const hyb_store *store = d->store;
    hyb_op_squares op;
    hybrid_result r;
    int i;
    for (i = 0; i < store->n_params; i++) {
        op.x = values + store->params[i].at;
        op.n = store->params[i].n;
        op.sum = d->made + i;
        hyb_do_squares(d->be, &op);
    }
    d->be->ops->read(d->be, d->sums, d->made, sizeof *d->sums * (size_t)store->n_params);
    if ((r = d->be->ops->sync(d->be, error)) != HYBRID_OK) return r;
    for (*squares = 0, i = 0; i < store->n_params; i++) *squares += d->sums[i];
    return HYBRID_OK;
}

/* Of n weights from `at` on, which are moved by m where that is not zero; the caller says what is taken up. */
static void hyb_displacement_piece(const hyb_displacement *d, int64_t at, int64_t n, const hyb_move *m, hyb_anchor goes,
                                   hyb_op_displace *op)
{
    memset(op, 0, sizeof *op);
    op->w = d->store->weights + at;
    op->anchor = d->anchor + at;
    op->b = d->b + at;
    op->s = d->s ? d->s + at : NULL;
    op->mean = d->mean && m->r != 0 ? d->mean + at : NULL;
    op->n = n;
    op->moves = m->d != 0 || m->b != 0 || m->s != 0 || m->r != 0;
    op->c_d = m->d;
    op->c_b = m->b;
    op->c_s = m->s;
    op->c_r = m->r;
    op->goes = op->moves || goes != HYB_ANCHOR_ALONG ? goes : HYB_ANCHOR_STAYS;
}

/* last = d: as b would be with a mu of 0. */
static void hyb_displacement_take_last(hyb_displacement *d)
{
    hyb_op_displace op;
    int i;
    if (!d->last) return;
    memset(&op, 0, sizeof op);
    op.takes = true;
    op.goes = HYB_ANCHOR_STAYS;
    for (i = 0; i < d->store->n_params; i++) {
        const hyb_param *p = &d->store->params[i];
        op.w = d->store->weights + p->at;
        op.anchor = d->anchor + p->at;
        op.b = d->last + p->at;
        op.n = p->n;
        hyb_do_displace(d->be, &op);
    }
}

/* added = added + c direction, of a parameter. */
static void hyb_displacement_add_of(hyb_displacement *d, const hyb_param *p, float *direction, float c)
{
    hyb_op_displace op;
    if (!direction || c == 0) return;
    memset(&op, 0, sizeof op);
    op.w = d->added + p->at;
    op.anchor = d->anchor + p->at; /* of which nothing is taken: c_d is 0 */
    op.b = direction + p->at;
    op.n = p->n;
    op.moves = true;
    op.c_b = c;
    op.goes = HYB_ANCHOR_STAYS;
    hyb_do_displace(d->be, &op);
}

/* What weights were moved by is added up, after they were. */
static void hyb_displacement_add(hyb_displacement *d, const hyb_move moves[HYB_FAMILIES + 1])
{
    int i;
    for (i = 0; d->added && i < d->store->n_params; i++) {
        const hyb_param *p = &d->store->params[i];
        const hyb_move *m = &moves[hyb_family_of(p)];
        hyb_displacement_add_of(d, p, d->last, m->d);
        hyb_displacement_add_of(d, p, d->b, m->b);
        hyb_displacement_add_of(d, p, d->s, m->s);
    }
}

/* One pass over all: b and s take up d where `takes`, weights are moved by moves[family]. */
static void hyb_displacement_move(hyb_displacement *d, const hyb_move moves[HYB_FAMILIES + 1], bool takes, float mu,
                                  float gamma, hyb_anchor goes)
{
    hyb_op_displace op;
    int i;
    if (takes) hyb_displacement_take_last(d);
    for (i = 0; i < d->store->n_params; i++) {
        const hyb_param *p = &d->store->params[i];
        hyb_displacement_piece(d, p->at, p->n, &moves[hyb_family_of(p)], goes, &op);
        op.takes = takes;
        op.mu = mu;
        op.gamma = gamma;
        hyb_do_displace(d->be, &op);
    }
    hyb_displacement_add(d, moves);
}

/* ---- the snapshot ------------------------------------------------------------------------------------------------ */

typedef void (*hyb_displacement_way)(hyb_displacement *d, float *live, float *kept, int64_t n);

static void hyb_displacement_out(hyb_displacement *d, float *live, float *kept, int64_t n)
{
    hyb_displacement_copy(d, kept, live, n);
}
static void hyb_displacement_in(hyb_displacement *d, float *live, float *kept, int64_t n)
{
    hyb_displacement_copy(d, live, kept, n);
}

/* Weights and what is laid out as they are; states, which may be on the host, come between the two. */
static void hyb_displacement_walk_snapshot(hyb_displacement *d, hyb_displacement_way way)
{
    const int64_t n = d->store->n_values, n_states = d->store->n_states;
    way(d, d->store->weights, d->kept, n);
    way(d, d->anchor, d->kept + n + n_states, d->n_arenas * n);
}
static void hyb_displacement_keep(hyb_displacement *d)
{
    if (!d->kept) return;
    hyb_displacement_walk_snapshot(d, hyb_displacement_out);
    if (d->store->n_states) hyb_store_keep_states(d->store, d->be, d->kept + d->store->n_values);
}
static void hyb_displacement_go_back(hyb_displacement *d)
{
    if (!d->kept) return;
    hyb_displacement_walk_snapshot(d, hyb_displacement_in);
    if (d->store->n_states) hyb_store_restore_states(d->store, d->be, d->kept + d->store->n_values);
}
#endif
