/* The predictor on a trainer: what it does to weights, against loops written here; going back, checkpoints, refusals.
 * SIGKILL (20 times in each of two modes, or HYBRID_KILLS). The model is somebody else's: a network of two layers that
 * learns another one from examples with noise. */
#include "predict_own.h"

enum { IN = 6, MID = 10, OUT = 3, N = 12, AT_A = 0, AT_B = 64, AT_C = 80, VALUES = 128, STEPS = 400 };

static const hybrid_trainable_param params[] = {
    { "a", AT_A, MID, IN, false },
    { "b", AT_B, 1, MID, false },
    { "c", AT_C, OUT, MID, false },
};

typedef struct net {
    float weights[VALUES];
    int64_t at;           /* batches that were read: the place in the data */
    int64_t bad_at;       /* the batch of this number gives no finite loss; 0: none */
    int64_t marked, gone; /* calls of mark and go_back */
    double extra;         /* of the loss */
} net;

static void net_make(net *m)
{
    int i;
    memset(m, 0, sizeof *m);
    for (i = 0; i < VALUES; i++) m->weights[i] = (float)(0.5 * dice(1, (uint64_t)i));
}

/* What is learned: of the same kind. */
static void teach(const double *x, double *y)
{
    int i, j;
    for (i = 0; i < OUT; i++) {
        y[i] = 0;
        for (j = 0; j < IN; j++) y[i] += sin(1.3 * i + 0.7 * j) * tanh(1.5 * x[j]);
    }
}

static bool net_gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    net *m = (net *)user;
    const int64_t number = *(const int64_t *)batch;
    const float *a = m->weights + AT_A, *b = m->weights + AT_B, *c = m->weights + AT_C;
    int n, i, j;
    *loss = 0;
    for (n = 0; n < N; n++) {
        double x[IN], want[OUT], h[MID], dh[MID] = { 0 };
        for (j = 0; j < IN; j++) x[j] = dice(2, (uint64_t)((number * N + n) * IN + j)) / (1 + j);
        teach(x, want);
        for (i = 0; i < MID; i++) {
            h[i] = b[i];
            for (j = 0; j < IN; j++) h[i] += (double)a[i * IN + j] * x[j];
            h[i] = tanh(h[i]);
        }
        for (i = 0; i < OUT; i++) {
            double y = -want[i] + 0.1 * dice(3, (uint64_t)((number * N + n) * OUT + i));
            for (j = 0; j < MID; j++) y += (double)c[i * MID + j] * h[j];
            *loss += y * y / 2;
            for (j = 0; grads && j < MID; j++) {
                grads[AT_C + i * MID + j] += (float)(factor * y * h[j]);
                dh[j] += y * (double)c[i * MID + j] * (1 - h[j] * h[j]);
            }
        }
        for (i = 0; grads && i < MID; i++) {
            grads[AT_B + i] += (float)(factor * dh[i]);
            for (j = 0; j < IN; j++) grads[AT_A + i * IN + j] += (float)(factor * dh[i] * x[j]);
        }
    }
    *loss = *loss / N + 0.5 + m->extra; /* far from 0, where a logarithm sees noise alone */
    if (m->bad_at && number == m->bad_at) *loss = HUGE_VAL;
    return true;
}

static void net_mark(void *user, void *position)
{
    net *m = (net *)user;
    memcpy(position, &m->at, sizeof m->at);
    m->marked++;
}
static void net_back(void *user, const void *position)
{
    net *m = (net *)user;
    memcpy(&m->at, position, sizeof m->at);
    m->bad_at = 0;
    m->gone++;
}

static hybrid_trainer *net_trainer(net *m)
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
    own.gradients = net_gradients;
    d.n_steps = STEPS;
    return own_trainer(&own, d);
}

static int n_members;                        /* of predictors that are made from now on */
static void (*more)(hybrid_predict_desc *d); /* what else they are asked for; or NULL */

static hybrid_predict_desc predict_desc(hybrid_trainer *t, net *m, hybrid_predict_mode mode)
{
    hybrid_predict_desc d = own_predict_desc(t, mode);
    d.mark = net_mark;
    d.go_back = net_back;
    d.user = m;
    d.members = n_members;
    d.learned = n_members > 0;
    if (more) more(&d);
    return d;
}

static hybrid_predictor *net_predictor(hybrid_trainer *t, net *m, hybrid_predict_mode mode)
{
    const hybrid_predict_desc d = predict_desc(t, m, mode);
    return own_predictor(&d);
}

/* One that is asked for more. */
static hybrid_predictor *net_asked(hybrid_trainer *t, net *m, hybrid_predict_mode mode,
                                   void (*how)(hybrid_predict_desc *d))
{
    hybrid_predictor *p;
    more = how;
    p = net_predictor(t, m, mode);
    more = NULL;
    return p;
}

static hybrid_result net_step(hybrid_trainer *t, net *m, hybrid_train_metrics *metrics, hybrid_error *e)
{
    hybrid_train_batch batch;
    const int64_t number = m->at++;
    memset(&batch, 0, sizeof batch);
    batch.own = &number;
    return hybrid_trainer_step(t, &batch, metrics, e);
}

static void net_run(hybrid_trainer *t, net *m, int64_t until)
{
    hybrid_error e;
    while (hybrid_trainer_steps(t) < until)
        if (net_step(t, m, NULL, &e)) {
            CHECK(false, "%s", e.message);
            return;
        }
}

/* ---- what it does to weights ------------------------------------------------------------------------------------- */

/* A predictor that only watches, and one whose coefficients are zero: the run of plain AdamW, bit for bit. */
static void test_nothing(void)
{
    net plain, watched;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_predict_desc d;
    hybrid_predict_metrics metrics;
    hybrid_error e;
    TEST("a predictor that moves nothing");
    net_make(&plain);
    t = net_trainer(&plain);
    net_run(t, &plain, STEPS);
    net_make(&watched);
    u = net_trainer(&watched);
    p = net_predictor(u, &watched, HYBRID_PREDICT_OFF);
    net_run(u, &watched, STEPS);
    CHECK(!memcmp(plain.weights, watched.weights, sizeof plain.weights), "watching");
    hybrid_predictor_metrics(p, &metrics);
    CHECK(metrics.n_windows == STEPS / 10 && !metrics.n_moves, "%lld windows", (long long)metrics.n_windows);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(u);
    net_make(&watched);
    u = net_trainer(&watched);
    d = predict_desc(u, &watched, HYBRID_PREDICT_A);
    d.eta = 1;
    d.mu = 1e-30f; /* c_d = 0, c_b = 1e-30: 0 where it is added */
    CHECK(!hybrid_predictor_create(&d, &p, &e), "%s", e.message);
    net_run(u, &watched, STEPS);
    CHECK(!memcmp(plain.weights, watched.weights, sizeof plain.weights), "coefficients of zero");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(u);
    hybrid_trainer_destroy(t);
}

/* Mode A is an outer Nesterov step over the matrices: ten lines around a trainer without a predictor. */
static void test_reference(void)
{
    net by_hand, moved;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    float anchor[VALUES], b[VALUES] = { 0 };
    int i, step, n_moves = 0;
    TEST("mode A against ten lines");
    net_make(&by_hand);
    net_make(&moved);
    t = net_trainer(&by_hand);
    u = net_trainer(&moved);
    p = net_predictor(u, &moved, HYBRID_PREDICT_A);
    memcpy(anchor, by_hand.weights, sizeof anchor);
    for (step = 1; step <= STEPS; step++) {
        CHECK(!net_step(u, &moved, &metrics, &e), "%s", e.message);
        CHECK(!net_step(t, &by_hand, NULL, &e), "%s", e.message);
        if (step % 10 == 0) {
            const bool moves = metrics.predict.event == HYBRID_PREDICT_MOVED;
            const double scale = p->now.scale, eta = (double)0.7f; /* scale: less than 1 after something suspicious */
            const float c_d = (float)(scale * (eta - 1)), c_b = (float)(scale * eta * (double)0.5f);
            for (i = 0; i < VALUES; i++) {
                const float d = by_hand.weights[i] - anchor[i];
                b[i] = fmaf(0.5f, b[i], d);
                if (moves && (i < AT_B || i >= AT_C)) by_hand.weights[i] += fmaf(c_b, b[i], c_d * d);
                anchor[i] = by_hand.weights[i];
            }
            n_moves += moves;
        } else
            CHECK(metrics.predict.event == HYBRID_PREDICT_NOTHING, "step %d: in the middle of a window", step);
        if (memcmp(by_hand.weights, moved.weights, AT_C * sizeof(float)) ||
            memcmp(by_hand.weights + AT_C, moved.weights + AT_C, OUT * MID * sizeof(float))) {
            CHECK(false, "step %d: other weights", step);
            break;
        }
    }
    CHECK(n_moves > 25, "%d moves", n_moves);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* Families that are named are moved by exactly what is said, and nothing else. */
static void test_moves(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hyb_move moves[HYB_FAMILIES + 1];
    hyb_family_sums sums[HYB_FAMILY_ALL + 1];
    float before[VALUES], anchor[VALUES], s[VALUES];
    hybrid_error e;
    double dd = 0;
    int i;
    TEST("families that are moved");
    net_make(&m);
    t = net_trainer(&m);
    p = net_predictor(t, &m, HYBRID_PREDICT_B);
    net_run(t, &m, 15);
    memcpy(before, m.weights, sizeof before);
    memcpy(anchor, p->disp.anchor, sizeof anchor);
    memcpy(s, p->disp.s, sizeof s);
    CHECK(!hyb_displacement_look(&p->disp, sums, &e), "%s", e.message);
    for (i = AT_C; i < AT_C + OUT * MID; i++)
        dd += ((double)before[i] - (double)anchor[i]) * ((double)before[i] - (double)anchor[i]);
    i = t->store.params[2].family;
    CHECK(i > 0 && fabs(sums[i].of[HYB_DD] - dd) < 1e-6 * dd, "d d of a family: %g, not %g", sums[i].of[HYB_DD], dd);
    CHECK(t->store.params[1].family == -1, "a vector");
    memset(moves, 0, sizeof moves);
    moves[i].s = 0.5f;
    hyb_displacement_move(&p->disp, moves, false, 0.5f, 0.9f, HYB_ANCHOR_ALONG);
    CHECK(!memcmp(before, m.weights, AT_C * sizeof(float)), "what was not named");
    for (i = AT_C; i < AT_C + OUT * MID; i++) {
        CHECK(m.weights[i] == before[i] + 0.5f * s[i], "value %d", i);
        CHECK(p->disp.anchor[i] == anchor[i] + 0.5f * s[i], "its anchor goes along: %d", i);
    }
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* Every mode changes weights, in phases that follow one another. */
static void test_modes(void)
{
    static const hybrid_predict_mode modes[] = { HYBRID_PREDICT_AUTO, HYBRID_PREDICT_A, HYBRID_PREDICT_A2,
                                                 HYBRID_PREDICT_B, HYBRID_PREDICT_C };
    net plain;
    hybrid_trainer *t;
    int i, k;
    TEST("modes");
    net_make(&plain);
    t = net_trainer(&plain);
    net_run(t, &plain, STEPS);
    hybrid_trainer_destroy(t);
    for (k = 0; k < (int)HYB_COUNT(modes); k++) {
        net m;
        hybrid_predictor *p;
        hybrid_predict_metrics metrics;
        hybrid_train_metrics step;
        hybrid_error e;
        int64_t seen[4] = { 0 };
        net_make(&m);
        t = net_trainer(&m);
        p = net_predictor(t, &m, modes[k]);
        for (i = 0; i < STEPS; i++) {
            CHECK(!net_step(t, &m, &step, &e), "%s", e.message);
            seen[step.predict.phase]++;
            CHECK(step.predict.low <= step.predict.high, "a band");
        }
        hybrid_predictor_metrics(p, &metrics);
        CHECK(metrics.n_moves > 0, "mode %d moved nothing", (int)modes[k]);
        CHECK(memcmp(m.weights, plain.weights, sizeof plain.weights), "mode %d has the weights of none", (int)modes[k]);
        CHECK(metrics.steps_of_phase[HYBRID_PHASE_PREDICT] > 0 || modes[k] == HYBRID_PREDICT_A2,
              "mode %d predicted no step", (int)modes[k]);
        CHECK(seen[HYBRID_PHASE_WARMUP] == 20 && seen[HYBRID_PHASE_FULL] > 0, "mode %d: warm-up, full", (int)modes[k]);
        CHECK(modes[k] == HYBRID_PREDICT_A2 || seen[HYBRID_PHASE_CORRECT] > 0, "mode %d: correct", (int)modes[k]);
        CHECK(metrics.coverage > 0.8 && metrics.coverage < 0.97, "mode %d: %g of the losses in the band of 0.9",
              (int)modes[k], metrics.coverage);
        CHECK(strlen(hybrid_predictor_verdict(p)) > 40, "a verdict");
        hybrid_predictor_destroy(p);
        hybrid_trainer_destroy(t);
    }
}

/* The loss that it is shown is that of the batch. */
static void test_loss(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    TEST("the loss that is learnt from");
    net_make(&m);
    t = net_trainer(&m);
    p = net_predictor(t, &m, HYBRID_PREDICT_A);
    CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(metrics.loss > 0 && p->features.loss[0] == hyb_log_loss(metrics.loss), "%g", metrics.loss);
    CHECK(p->features.last.grad_norm == metrics.grad_norm, "%g", metrics.grad_norm);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- going back -------------------------------------------------------------------------------------------------- */

static void test_back(void)
{
    net m, twin;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_train_metrics metrics;
    hybrid_error e;
    float states[2 * VALUES];
    int64_t kept;
    int i;
    TEST("going back");
    net_make(&m);
    t = net_trainer(&m);
    p = net_predictor(t, &m, HYBRID_PREDICT_A);
    while (!p->now.n_moves) CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    kept = hybrid_trainer_steps(t);
    CHECK(m.marked == 1, "%lld marks", (long long)m.marked);
    /* what was there before the move: a run that only watches */
    net_make(&twin);
    u = net_trainer(&twin);
    q = net_predictor(u, &twin, HYBRID_PREDICT_OFF);
    net_run(u, &twin, kept);
    memcpy(states, u->store.states, sizeof *states * (size_t)u->store.n_states);
    CHECK(memcmp(m.weights, twin.weights, sizeof m.weights), "it has moved");
    m.bad_at = m.at + 3;
    for (i = 0; i < 3; i++) CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(metrics.predict.event == HYBRID_PREDICT_WENT_BACK && metrics.step == kept, "step %lld",
          (long long)metrics.step);
    CHECK(hybrid_trainer_steps(t) == kept && m.gone == 1 && m.at == kept, "place %lld", (long long)m.at);
    CHECK(!memcmp(m.weights, twin.weights, sizeof m.weights), "weights");
    CHECK(!memcmp(t->store.states, states, sizeof(float) * (size_t)t->store.n_states), "states of the optimizer");
    for (i = 0; i < 9; i++) { /* true steps come now */
        CHECK(!net_step(t, &m, &metrics, &e) && !net_step(u, &twin, NULL, &e), "%s", e.message);
        CHECK(metrics.predict.event == HYBRID_PREDICT_NOTHING, "a move");
    }
    CHECK(!memcmp(m.weights, twin.weights, sizeof m.weights), "the steps after it");
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(u);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* It goes back five times, the rate is halved from the second on, and then the run ends with a sentence. */
static void test_abort(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    hybrid_result r = HYBRID_OK;
    int i, back = 0;
    TEST("going back too often");
    net_make(&m);
    t = net_trainer(&m);
    p = net_predictor(t, &m, HYBRID_PREDICT_A);
    for (i = 0; i < 2000 && !r; i++) {
        if (p->now.can_go_back) m.bad_at = m.at;
        r = net_step(t, &m, &metrics, &e);
        if (!r && metrics.predict.event == HYBRID_PREDICT_WENT_BACK) back++;
    }
    CHECK(r == HYBRID_ERROR_NUMERIC && strstr(e.message, "smaller learning rate"), "%d: %s", (int)r, e.message);
    CHECK(back >= 4 && p->now.rate_factor < 0.5, "%d times, rate %g", back, p->now.rate_factor);
    CHECK(hybrid_trainer_steps(t) > 0, "the trainer is there");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

/* Saved before every call of a stretch that has all phases in it, and gone on with: the same bits. */
static void test_resume(hybrid_predict_mode mode, int from, int until)
{
    static const char path[] = "build/predictor.ckpt";
    net whole, part, at;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_error e;
    int call;
    TEST("checkpoints in all phases");
    net_make(&whole);
    t = net_trainer(&whole);
    p = net_predictor(t, &whole, mode);
    net_run(t, &whole, until + 60);
    net_make(&part);
    u = net_trainer(&part);
    q = net_predictor(u, &part, mode);
    net_run(u, &part, from);
    for (call = from; call < until; call++) {
        const int64_t step = hybrid_trainer_steps(u);
        hybrid_trainer *v;
        hybrid_predictor *w;
        CHECK(!hybrid_trainer_save(u, path, &e), "%s", e.message);
        net_make(&at);
        v = net_trainer(&at);
        w = net_predictor(v, &at, mode);
        CHECK(!hybrid_trainer_load(v, path, &e), "%s", e.message);
        at.at = step;
        CHECK(hybrid_trainer_steps(v) == step && w->now.n_moves == q->now.n_moves, "step %d", (int)step);
        CHECK(w->audit.open == q->audit.open && v->rate_factor == u->rate_factor, "step %d: its audit", (int)step);
        net_run(v, &at, until + 60);
        if (memcmp(at.weights, whole.weights, sizeof at.weights)) {
            CHECK(false, "mode %d: gone on with from step %d", (int)mode, (int)step);
            call = until;
        }
        hybrid_predictor_destroy(w);
        hybrid_trainer_destroy(v);
        CHECK(!net_step(u, &part, NULL, &e), "%s", e.message);
    }
    hybrid_predictor_destroy(q);
    /* without a predictor, and with another: it says so, and goes on */
    CHECK(!hybrid_trainer_load(u, path, &e), "%s", e.message);
    q = net_predictor(u, &part, mode == HYBRID_PREDICT_A ? HYBRID_PREDICT_B : HYBRID_PREDICT_A);
    CHECK(!hybrid_trainer_load(u, path, &e) && !q->now.n_windows, "another predictor begins anew: %s", e.message);
    hybrid_predictor_destroy(q);
    remove(path);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* ---- refusals, memory -------------------------------------------------------------------------------------------- */

static void test_refused(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p = NULL, *q = NULL;
    hybrid_predict_desc d, told;
    hybrid_error e;
    TEST("refusals");
    net_make(&m);
    t = net_trainer(&m);
    CHECK(hybrid_predictor_create(NULL, &p, &e) == HYBRID_ERROR_INVALID && !p, "no descriptor");
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    CHECK(hybrid_predictor_create(&d, NULL, &e) == HYBRID_ERROR_INVALID, "nowhere to");
#define BAD(field, value) \
    d = predict_desc(t, &m, HYBRID_PREDICT_A); \
    d.field = value; \
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_INVALID && !p && strstr(e.message, #field), \
          #field ": %s", e.message)
    BAD(mode, (hybrid_predict_mode)9);
    BAD(window, 1);
    BAD(eta, 1.5f);
    BAD(mu, -1);
    BAD(gamma, 1);
    BAD(horizon, 8);
    BAD(correction_interval, 9);
    BAD(predict_until, NAN);
    BAD(trust, 3);
    BAD(sigma, 0.5f);
    BAD(trainer, NULL);
    BAD(residuals, -1);
    BAD(audit_every, -1);
    BAD(compress_rank, 1);
    BAD(audit_steps, 4);
    BAD(audit_share, 2);
#undef BAD
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    d.audit_every = 1;
    d.go_back = NULL;
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "go_back"), "%s", e.message);
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    d.audit_every = 1;
    d.no_snapshot = true;
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "snapshot"), "%s",
          e.message);
    d.no_snapshot = false;
    t->desc.n_steps = 0;
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "n_steps"), "%s", e.message);
    t->desc.n_steps = STEPS;
    p = net_predictor(t, &m, HYBRID_PREDICT_A);
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    CHECK(hybrid_predictor_create(&d, &q, &e) == HYBRID_ERROR_INVALID && !q, "a second one");
    hybrid_predictor_describe(p, &told);
    CHECK(told.window == 10 && told.eta == 0.7f && told.trust == 0.7f, "what is used");
    hybrid_trainer_destroy(t); /* the predictor has numbers to give */
    CHECK(strlen(hybrid_predictor_verdict(p)) > 20, "a verdict");
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(NULL);
}

typedef struct ration {
    size_t live, most;
    long calls, fail_at;
} ration;
static void *ration_alloc(void *user, size_t size)
{
    ration *r = (ration *)user;
    size_t *p;
    if (++r->calls == r->fail_at || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    r->live += size;
    return p + 2;
}
static void ration_free(void *user, void *block)
{
    size_t *p = (size_t *)block - 2;
    ((ration *)user)->live -= *p;
    free(p);
}

/* Any allocation may fail; what is taken is what the plan says. */
static void test_memory(void)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_trainable own;
    hybrid_trainer_desc td;
    hybrid_trainer *t = NULL;
    hybrid_predictor *p = NULL;
    hybrid_predict_desc d;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    hybrid_error e;
    ration given = { 0, 0, 0, 0 };
    uint64_t bytes = 0, less = 0;
    size_t before;
    net m;
    TEST("memory of a predictor");
    memset(&rd, 0, sizeof rd);
    memset(&own, 0, sizeof own);
    memset(&td, 0, sizeof td);
    rd.allocator.alloc = ration_alloc;
    rd.allocator.free = ration_free;
    rd.allocator.user = &given;
    rd.n_threads = 1;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    net_make(&m);
    own.runtime = rt;
    own.params = params;
    own.n_params = 3;
    own.weights = m.weights;
    own.n_weights = VALUES;
    own.user = &m;
    own.gradients = net_gradients;
    td.own = &own;
    td.n_steps = STEPS;
    CHECK(!hybrid_trainer_create(&td, &t, &e), "%s", e.message);
    d = predict_desc(t, &m, HYBRID_PREDICT_B);
    CHECK(!hybrid_predictor_plan(&d, &bytes, &e), "%s", e.message);
    before = given.live;
    for (given.fail_at = 1; r == HYBRID_ERROR_MEMORY && given.fail_at < 50; given.fail_at++) {
        given.calls = 0;
        r = hybrid_predictor_create(&d, &p, &e);
        if (r) CHECK(!p && given.live == before && !t->rider, "allocation %ld", given.fail_at);
    }
    CHECK(!r && given.fail_at > 3, "%ld allocations", given.fail_at);
    CHECK(given.live - before == bytes, "%ld bytes taken, %ld planned", (long)(given.live - before), (long)bytes);
    given.fail_at = 0;
    hybrid_predictor_destroy(p);
    CHECK(given.live == before, "%ld bytes are left", (long)(given.live - before));
    d.no_snapshot = true;
    d.audit_every = 0;
    CHECK(!hybrid_predictor_plan(&d, &less, &e) && less < bytes, "without a snapshot");
    t->desc.max_bytes = (size_t)(t->plan.total + less);
    d.no_snapshot = false;
    CHECK(!hybrid_predictor_create(&d, &p, &e) && p->desc.no_snapshot, "there is no room for a snapshot: %s",
          e.message);
    hybrid_predictor_destroy(p);
    t->desc.max_bytes--;
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_LIMIT && !p && strstr(e.message, "max_bytes"), "%s",
          e.message);
    hybrid_trainer_destroy(t);
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes are left", (long)given.live);
}

#include "predict_hindsight.h"
#include "predict_killed.h"

int main(void)
{
#if !defined(_WIN32)
    const char *kills = getenv("HYBRID_KILLS");
    const int n_kills = kills ? atoi(kills) : 20;
    static const int moved[] = { HYBRID_PHASE_WARMUP, HYBRID_PHASE_FULL, HYBRID_PHASE_CORRECT, HYBRID_PHASE_CORRECT };
    static const int skipped[] = { HYBRID_PHASE_WARMUP, HYBRID_PHASE_FULL, HYBRID_PHASE_PREDICT, HYBRID_PHASE_CORRECT };
    test_kills(HYBRID_PREDICT_A, moved, n_kills);
    test_kills(HYBRID_PREDICT_C, skipped, n_kills);
#endif
    test_nothing();
    test_reference();
    test_moves();
    test_modes();
    test_loss();
    test_back();
    test_abort();
    test_resume(HYBRID_PREDICT_AUTO, 18, 60);
    test_resume(HYBRID_PREDICT_A, 18, 45);
    test_resume(HYBRID_PREDICT_A2, 20, 50);
    test_resume(HYBRID_PREDICT_B, 20, 60);
    test_resume(HYBRID_PREDICT_C, 20, 120);
    test_hindsight();
    more = with_all;
    test_resume(HYBRID_PREDICT_A, 18, 90);
    test_resume(HYBRID_PREDICT_AUTO, 18, 70);
    test_resume(HYBRID_PREDICT_C, 30, 50);
    test_memory();
    more = NULL;
    n_members = 1;
    test_resume(HYBRID_PREDICT_A, 38, 52);
    test_memory();
    n_members = 0;
    test_refused();
    test_memory();
    return test_end();
}
