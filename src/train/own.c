/* train/own: somebody else's model as an objective (api/trainable.h). A batch is one piece of work. */
#ifndef HYB_TRAIN_OWN_C
#define HYB_TRAIN_OWN_C
#include "../compute/cpu/backend.c"
#include "../core/fpenv.c"
#include "objective.c"

enum { HYB_OWN_NAME = 48 };

typedef struct hyb_own {
    hyb_objective base; /* first: an objective is one */
    hybrid_runtime *rt;
    hybrid_trainable model; /* without its params and its name, which are the caller's */
    char name[HYB_OWN_NAME + 1];
    const hyb_store *store;
    const void *batch; /* that is worked on */
    double factor, loss;
    bool backward, failed;
} hyb_own;

static hyb_own *hyb_own_of(hyb_objective *o) { return (hyb_own *)(void *)o; }

static int64_t hyb_own_rows(const hybrid_trainable_param *p) { return HYB_MAX(p->rows, 1); }

static hybrid_result hyb_own_check_param(const hybrid_trainable *m, int32_t i, hybrid_error *error)
{
    const hybrid_trainable_param *p = &m->params[i];
    const int64_t rows = hyb_own_rows(p);
    size_t n = 0;
    int32_t j;
    if (!p->name || !p->name[0] || strlen(p->name) > HYB_OWN_NAME)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_trainable: the name of parameter %d must have 1 to %d bytes", (int)i, HYB_OWN_NAME);
    if (p->rows < 0 || p->cols < 1 || rows > INT32_MAX || p->cols > INT32_MAX ||
        !hyb_mul_size((size_t)rows, (size_t)p->cols, &n) || p->at > m->n_weights || n > m->n_weights - p->at)
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "hybrid_trainable: parameter '%s' is %lld x %lld at %llu, which does not lie in the %llu weights", p->name,
            (long long)p->rows, (long long)p->cols, (unsigned long long)p->at, (unsigned long long)m->n_weights);
    for (j = 0; j < i; j++) {
        const hybrid_trainable_param *q = &m->params[j];
        const size_t size = (size_t)(hyb_own_rows(q) * q->cols);
        if (!strcmp(p->name, q->name))
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainable: there are two parameters '%s'", p->name);
        if (p->at < q->at + size && q->at < p->at + n)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_trainable: the parameters '%s' and '%s' have values in common", q->name, p->name);
    }
    return HYBRID_OK;
}

static hybrid_result hyb_own_check(const hybrid_trainable *m, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int32_t i;
    if (!m->params || m->n_params < 1 || !m->weights || !m->gradients)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainable: %s is NULL",
                        !m->gradients ? "gradients"
                        : !m->weights ? "weights"
                                      : "params, or n_params below 1: it");
    if (m->name && strlen(m->name) > HYB_OWN_NAME)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainable: its name has more than %d bytes", HYB_OWN_NAME);
    if (m->n_weights > (size_t)INT64_MAX / 64)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainable: n_weights is %llu",
                        (unsigned long long)m->n_weights);
    for (i = 0; i < m->n_params && !r; i++) r = hyb_own_check_param(m, i, error);
    return r;
}

/* Bytes of the names of its parameters. */
static size_t hyb_own_names(const hybrid_trainable *m) { return (HYB_OWN_NAME + 1) * (size_t)m->n_params; }

/* The table of parameters; their names are copied. */
static hybrid_result hyb_own_params(hyb_store *s, hybrid_runtime *rt, hyb_device *device, const hybrid_trainable *m,
                                    hybrid_error *error)
{
    const size_t room = HYB_OWN_NAME + 1;
    hybrid_result r = hyb_store_begin(s, rt, device, m->weights, (int64_t)m->n_weights, (size_t)m->n_params, error);
    int32_t i;
    if (r) return r;
    if (!(s->names = (char *)hyb_calloc(rt, (size_t)m->n_params, room)))
        return hyb_fail_memory(error, hyb_own_names(m));
    for (i = 0; i < m->n_params; i++) {
        const hybrid_trainable_param *p = &m->params[i];
        hybrid_string name;
        name.size = strlen(p->name);
        name.data = s->names + room * (size_t)i;
        memcpy(s->names + room * (size_t)i, p->name, name.size);
        hyb_store_add(s, name, (int64_t)p->at, hyb_own_rows(p), p->cols,
                      p->rows < 2   ? HYB_GROUP_VECTOR
                      : p->is_table ? HYB_GROUP_TABLE
                                    : HYB_GROUP_MATRIX);
    }
    for (i = 0; i < s->n_params; i++) /* neighbours are alike */
        if (s->params[i].group != HYB_GROUP_VECTOR) s->params[i].family = (int)((int64_t)i * 8 / s->n_params);
    return HYBRID_OK;
}

/* ---- a batch ----------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_own_look(hyb_objective *o, const hybrid_train_batch *batch, int64_t *n_counted, double *weight,
                                  hybrid_error *error)
{
    const hybrid_trainable *m = &hyb_own_of(o)->model;
    const int64_t n = m->count ? m->count(m->user, batch->own) : 1;
    hyb_fp_plain();
    if (n < 1 || n > INT64_MAX / 2 - *n_counted)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_trainable: a batch of %lld examples", (long long)n);
    *n_counted += n;
    *weight += (double)n;
    return HYBRID_OK;
}

static void hyb_own_begin(hyb_objective *o, const hybrid_train_batch *batch, double factor, bool backward)
{
    hyb_own *own = hyb_own_of(o);
    own->batch = batch->own;
    own->factor = factor;
    own->backward = backward;
    own->loss = 0;
    own->failed = false;
    o->ready = own->store->n_values;
}

static bool hyb_own_work(hyb_objective *o)
{
    hyb_own *own = hyb_own_of(o);
    const hybrid_trainable *m = &own->model;
    own->failed = !m->gradients(m->user, own->batch, own->factor, own->backward ? own->store->grads : NULL, &own->loss);
    hyb_fp_plain();
    if (own->backward) o->ready = 0;
    return false;
}

static hybrid_result hyb_own_end(hyb_objective *o, double *loss, hybrid_error *error)
{
    const hyb_own *own = hyb_own_of(o);
    if (own->failed)
        return hyb_fail(error, HYBRID_ERROR_CANCELLED,
                        "hybrid_trainable: gradients returned false, and the step was given up");
    *loss += own->loss;
    return HYBRID_OK;
}

static void hyb_own_destroy(hyb_objective *o)
{
    hyb_own *own = hyb_own_of(o);
    hyb_slicer_destroy(&o->cut.be);
    hyb_free(own->rt, own);
}

/* What the norm and the optimizers ask of the back end. */
static hyb_limits hyb_own_limits(void)
{
    hyb_limits limits;
    memset(&limits, 0, sizeof limits);
    limits.n_train = 1;
    return limits;
}

static hybrid_result hyb_own_create(hybrid_runtime *rt, hyb_device *device, const hybrid_trainable *m,
                                    const hyb_store *store, hyb_objective **objective, hybrid_error *error)
{
    static const hyb_objective_ops ops = { hyb_own_look,    hyb_own_begin, hyb_own_work, hyb_own_end,
                                           hyb_own_destroy, NULL,          NULL };
    const hyb_limits limits = hyb_own_limits();
    hyb_own *own = (hyb_own *)hyb_calloc(rt, 1, sizeof *own);
    hyb_backend *be;
    hybrid_result r;
    if (!own) return hyb_fail_memory(error, sizeof *own);
    own->base.ops = &ops;
    own->rt = rt;
    own->model = *m;
    own->model.params = NULL;
    own->model.name = NULL;
    snprintf(own->name, sizeof own->name, "%s", m->name ? m->name : "");
    own->store = store;
    if ((r = device->ops->backend_create(device, &limits, &be, error)) != HYBRID_OK) {
        hyb_free(rt, own);
        return r;
    }
    hyb_slicer_init(&own->base.cut, be);
    own->base.be = &own->base.cut.be;
    *objective = &own->base;
    return HYBRID_OK;
}
#endif
