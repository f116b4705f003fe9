/* A model of somebody else's for tests of the predictor: a bowl with noise. Its loss and gradients can be made to do
 * whatever a test needs. */
#ifndef PREDICT_BOWL_H
#define PREDICT_BOWL_H
#include "predict_own.h"

enum { AT_A = 0, AT_B = 48, AT_C = 64, N_A = 40, N_B = 8, N_C = 24, VALUES = 96 };

static const hybrid_trainable_param params[] = {
    { "a", AT_A, 8, 5, false },
    { "b", AT_B, 1, 8, false },
    { "c", AT_C, 3, 8, false },
};

typedef struct bowl {
    float weights[VALUES];
    int64_t at;                                   /* batches that were read: the place in the data */
    int64_t n_steps;                              /* of the trainer */
    int32_t n_batches;                            /* of a step */
    float clip;                                   /* of the trainer */
    double noise;                                 /* of targets */
    double lambda;                                /* > 0: gradients of a and c are at most so long against these: */
    double squares[2];                            /* of their weights; see group_lengths */
    double (*shown)(int64_t number, double loss); /* the loss that is told; NULL: as it is */
    double (*length)(int64_t number);             /* factor of the gradients; NULL: 1 */
    bool (*works)(int64_t number);                /* NULL: it always does */
    int64_t marked, gone;                         /* calls of mark and go_back */
} bowl;

static void bowl_make(bowl *m)
{
    int i;
    memset(m, 0, sizeof *m);
    m->n_steps = 400;
    m->n_batches = 1;
    m->noise = 0.3;
    for (i = 0; i < VALUES; i++) m->weights[i] = (float)(0.5 * dice(1, (uint64_t)i));
}

static double squares_of(const float *x, int n)
{
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* What GROUPS does, by hand. */
static void bowl_shorten(const bowl *m, float *grads)
{
    const int at[2] = { AT_A, AT_C }, n[2] = { N_A, N_C };
    int g, i;
    for (g = 0; g < 2; g++) {
        const double length = sqrt(squares_of(grads + at[g], n[g])), most = m->lambda * sqrt(m->squares[g]);
        if (!(m->squares[g] > 0) || !(length > most)) continue;
        for (i = 0; i < n[g]; i++) grads[at[g] + i] *= (float)(most / length);
    }
}

static bool bowl_gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    bowl *m = (bowl *)user;
    const int64_t number = *(const int64_t *)batch;
    const double length = m->length ? m->length(number) : 1;
    int i;
    if (m->works && !m->works(number)) return false;
    *loss = 0.5;
    for (i = 0; i < VALUES; i++) {
        const bool used = i < AT_A + N_A || (i >= AT_B && i < AT_B + N_B) || (i >= AT_C && i < AT_C + N_C);
        const double curve = 0.02 + 0.5 * ((i * 7) % 10) / 10.0;
        const double noise = dice(3, (uint64_t)number * VALUES + (uint64_t)i);
        const double off = (double)m->weights[i] - sin(1.3 * i) + m->noise * noise;
        if (!used) continue;
        *loss += curve * off * off / 2;
        if (grads) grads[i] += (float)(factor * length * curve * off);
    }
    if (grads && m->lambda > 0) bowl_shorten(m, grads);
    if (m->shown) *loss = m->shown(number, *loss);
    return true;
}

static void bowl_mark(void *user, void *position)
{
    bowl *m = (bowl *)user;
    memcpy(position, &m->at, sizeof m->at);
    m->marked++;
}
static void bowl_back(void *user, const void *position)
{
    bowl *m = (bowl *)user;
    memcpy(&m->at, position, sizeof m->at);
    m->gone++;
}

static hybrid_trainer *bowl_trainer(bowl *m)
{
    hybrid_trainable own;
    hybrid_trainer_desc d;
    memset(&own, 0, sizeof own);
    memset(&d, 0, sizeof d);
    own.params = params;
    own.n_params = 3;
    own.weights = m->weights;
    own.n_weights = VALUES;
    own.user = m;
    own.gradients = bowl_gradients;
    d.n_steps = m->n_steps;
    d.n_batches = m->n_batches;
    d.clip = m->clip;
    return own_trainer(&own, d);
}

static hybrid_predict_desc bowl_desc(hybrid_trainer *t, bowl *m, hybrid_predict_mode mode)
{
    hybrid_predict_desc d = own_predict_desc(t, mode);
    d.mark = bowl_mark;
    d.go_back = bowl_back;
    d.user = m;
    return d;
}

static hybrid_result bowl_step(hybrid_trainer *t, bowl *m, hybrid_train_metrics *metrics, hybrid_error *e)
{
    hybrid_train_batch batches[8];
    int64_t numbers[8];
    int i;
    memset(batches, 0, sizeof batches);
    for (i = 0; i < m->n_batches; i++) {
        numbers[i] = m->at++;
        batches[i].own = &numbers[i];
    }
    return hybrid_trainer_step(t, batches, metrics, e);
}

static void bowl_run(hybrid_trainer *t, bowl *m, int64_t until)
{
    hybrid_error e;
    while (hybrid_trainer_steps(t) < until)
        if (bowl_step(t, m, NULL, &e)) {
            CHECK(false, "%s", e.message);
            return;
        }
}

/* A run of its own from the beginning: its weights, and what its predictor tells. d->trainer is filled in. */
static void bowl_whole(bowl *m, hybrid_predict_desc d, int64_t until, hybrid_predict_metrics *told)
{
    hybrid_trainer *t = bowl_trainer(m);
    hybrid_predictor *p;
    d.trainer = t;
    d.user = m;
    p = own_predictor(&d);
    bowl_run(t, m, until);
    if (told) hybrid_predictor_metrics(p, told);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}
#endif
