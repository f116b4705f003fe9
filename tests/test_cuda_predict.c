/* The predictor on the GPU [emu] [emu-reordered] [no-asan]: a small transformer that is trained there with each mode,
 * against the same training on the CPU: losses, moves, a roll-back, a checkpoint; and how often the host waits for the
 * GPU with a predictor and without one. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include "emu/counters.h"

#define LARGER(a, b) ((a) > (b) ? (a) : (b))

enum { SEQS = 2, CTX = 12, ROWS = SEQS * CTX, WINDOW = 3, STEPS = 26 };

typedef struct run {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_trainer *t;
    hybrid_predictor *p;
} run;

static const emu_counts *counts; /* NULL: it is a real device, which counts nothing */

static const emu_counts *find_counts(const run *r)
{
    emu_counters_function counters = NULL;
    hyb_library_symbol(&hyb_cuda_device_of(r->rt->gpu)->cu->driver.library, "emu_counters", &counters);
    return counters ? counters() : NULL;
}

static void run_open(run *r, bool gpu)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_trainer_desc d;
    hybrid_error e;
    memset(r, 0, sizeof *r);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&d, 0, sizeof d);
    rd.device = gpu ? "cuda" : "cpu";
    md.path = "tests/oracle/data/models/gpt2.gguf";
    md.trainable = true;
    CHECK(!hybrid_runtime_create(&rd, &r->rt, &e), "%s", e.message);
    CHECK(!hybrid_model_load(r->rt, &md, &r->m, &e), "%s", e.message);
    d.model = r->m;
    d.n_seq = SEQS;
    d.n_ctx = CTX;
    d.rate = 1e-3f;
    d.clip = 1;
    d.decay = 0.1f;
    CHECK(!hybrid_trainer_create(&d, &r->t, &e), "%s", e.message);
}

static int n_members; /* of predictors that are made from now on */

/* Modes B and C want a rate that has been steady for a hundred steps: so it has, as far as the predictor knows. */
static void run_steady(run *r)
{
    int i;
    for (i = 0; i < 8; i++) r->p->now.rate_before[i] = (double)r->t->desc.rate;
}

/* What the world models take of the memory of the GPU, if they learn there. */
static uint64_t bytes_of_learning(const run *r)
{
    const hyb_world *w = r->p->world;
    hyb_op_rssm op;
    if (!w || !w->on) return 0;
    return w->on->device->ops->cost(w->on->device, hyb_world_device_lay(&op, NULL, w->n_members)) +
           w->on->device->ops->cost(w->on->device, hyb_cuda_of(w->on->be)->layout.bytes);
}

static void run_watch_as(run *r, hybrid_predict_mode mode, bool formats, bool park)
{
    hybrid_predict_desc d;
    hybrid_error e;
    uint64_t bytes, planned;
    hyb_device *gpu = r->t->store.device;
    const uint64_t before = gpu->ops->is_host ? 0 : hyb_cuda_device_of(gpu)->cu->arena.used;
    memset(&d, 0, sizeof d);
    d.trainer = r->t;
    d.mode = mode;
    d.warmup_steps = 3;
    d.full_steps = 2;
    d.window = WINDOW;
    d.correct_steps = 2;
    d.horizon = 16;
    d.correction_interval = 2;
    d.members = n_members;
    d.formats = formats;
    d.phase_format[HYBRID_PHASE_FULL] = HYBRID_TYPE_BF16;
    d.park = park;
    CHECK(!hybrid_predictor_plan(&d, &planned, &e), "%s", e.message);
    CHECK(!hybrid_predictor_create(&d, &r->p, &e), "%s", e.message);
    bytes = gpu->ops->is_host ? 0 : hyb_cuda_device_of(gpu)->cu->arena.used - before;
    CHECK(gpu->ops->is_host || gpu->ops->cost(gpu, r->p->disp.bytes) + bytes_of_learning(r) == bytes,
          "%llu bytes of the GPU for a block of %llu", (unsigned long long)bytes, (unsigned long long)r->p->disp.bytes);
    CHECK(planned == r->p->bytes || r->t->desc.max_bytes, "%llu bytes were planned, %llu are taken",
          (unsigned long long)planned, (unsigned long long)r->p->bytes);
    run_steady(r);
}

static void run_watch(run *r, hybrid_predict_mode mode) { run_watch_as(r, mode, false, false); }

static void run_close(run *r)
{
    hybrid_predictor_destroy(r->p);
    hybrid_trainer_destroy(r->t);
    hybrid_model_destroy(r->m);
    hybrid_runtime_destroy(r->rt);
}

/* The same text again and again, so that there is something that goes on. */
static double run_step(run *r, hybrid_train_metrics *metrics)
{
    static int32_t ids[ROWS], targets[ROWS];
    hybrid_train_batch batch;
    hybrid_train_metrics m;
    hybrid_error e;
    int i;
    memset(&batch, 0, sizeof batch);
    for (i = 0; i < ROWS; i++) {
        ids[i] = (i * i * 13 + 7 * i + (int)(r->t->step % 2)) % r->m->hp.n_vocab;
        targets[i] = (ids[i] * 5 + 3) % r->m->hp.n_vocab;
    }
    batch.ids = ids;
    batch.targets = targets;
    memset(&m, 0, sizeof m);
    CHECK(!hybrid_trainer_step(r->t, &batch, &m, &e), "step %d: %s", (int)r->t->step, e.message);
    if (metrics) *metrics = m;
    return m.loss;
}

/* Weights and states, freed by the caller. */
static float *run_values(run *r)
{
    hyb_store *s = &r->t->store;
    hyb_backend *be = r->t->objective->cut.real;
    float *values = (float *)malloc(sizeof(float) * (size_t)(s->n_values + s->n_states));
    hybrid_error e;
    CHECK(!hyb_store_read(be, values, s->weights, s->n_values, &e), "%s", e.message);
    CHECK(!hyb_store_read_states(s, be, values + s->n_values, 0, s->n_states, &e), "%s", e.message);
    return values;
}
static bool same_values(const run *r, const float *a, const float *b)
{
    return !memcmp(a, b, sizeof(float) * (size_t)(r->t->store.n_values + r->t->store.n_states));
}

/* ---- the same losses and moves as on the CPU --------------------------------------------------------------------- */

static void check_mode(const char *name, hybrid_predict_mode mode, const double plain[STEPS])
{
    run r[2];
    hybrid_predict_metrics seen[2];
    hybrid_train_metrics a[2];
    double worst = 0, moved = 0;
    int i, k, events = 0;
    TEST(name);
    for (k = 0; k < 2; k++) {
        run_open(&r[k], k == 1);
        run_watch(&r[k], mode);
    }
    for (i = 0; i < STEPS; i++) {
        for (k = 0; k < 2; k++) run_step(&r[k], &a[k]);
        worst = LARGER(worst, fabs(a[0].loss - a[1].loss));
        moved = LARGER(moved, fabs(a[1].loss - plain[i]));
        CHECK(a[0].predict.event == a[1].predict.event && a[0].predict.phase == a[1].predict.phase,
              "step %d: event %d in phase %d, on the GPU %d in %d", i + 1, (int)a[0].predict.event,
              (int)a[0].predict.phase, (int)a[1].predict.event, (int)a[1].predict.phase);
        CHECK(fabs(a[0].predict.moved - a[1].predict.moved) <= 1e-3 * a[0].predict.moved, "moved %g and %g",
              a[0].predict.moved, a[1].predict.moved);
        events += a[1].predict.event == HYBRID_PREDICT_MOVED;
    }
    for (k = 0; k < 2; k++) hybrid_predictor_metrics(r[k].p, &seen[k]);
    CHECK(worst <= 1e-5, "losses %.2g apart", worst);
    CHECK(seen[0].n_moves == seen[1].n_moves && seen[0].n_windows == seen[1].n_windows, "%d moves, %d on the GPU",
          (int)seen[0].n_moves, (int)seen[1].n_moves);
    if (mode == HYBRID_PREDICT_OFF)
        CHECK(!events && moved == 0, "a predictor that only watches changed a loss by %g", moved);
    else
        CHECK(events > 0 && moved > 1e-4, "%d moves changed losses by %g", events, moved);
    CHECK(fabs(seen[0].hindsight - seen[1].hindsight) < 1e-2 * fabs(seen[0].hindsight) + 1e-4, "hindsight %g and %g",
          seen[0].hindsight, seen[1].hindsight);
    printf("  %-6s %d steps, %d moves, losses within %.1e of the CPU's, %.1e from those without it\n", name, STEPS,
           (int)seen[1].n_moves, worst, moved);
    for (k = 0; k < 2; k++) run_close(&r[k]);
}

/* Mode D: of two batches of a step one goes back. The same losses, norms and regression as on the CPU, with a slope
 * that is said here, so that the control variate counts. */
static void check_partial(void)
{
    run r[2];
    hybrid_train_metrics a[2];
    hybrid_error e;
    double worst = 0, norms = 0;
    int i, k;
    TEST("D");
    for (k = 0; k < 2; k++) {
        run_open(&r[k], k == 1);
        CHECK(!hybrid_trainer_set_batches(r[k].t, 2, &e), "%s", e.message);
        run_watch(&r[k], HYBRID_PREDICT_D);
    }
    for (i = 0; i < STEPS / 2; i++) {
        for (k = 0; k < 2; k++) {
            static int32_t ids[2][ROWS], targets[2][ROWS];
            hybrid_train_batch batches[2];
            int b, j;
            memset(batches, 0, sizeof batches);
            for (b = 0; b < 2; b++) {
                for (j = 0; j < ROWS; j++) {
                    ids[b][j] = (j * j * 13 + 7 * j + 31 * i + 5 * b) % r[k].m->hp.n_vocab;
                    targets[b][j] = (ids[b][j] * 5 + 3) % r[k].m->hp.n_vocab;
                }
                batches[b].ids = ids[b];
                batches[b].targets = targets[b];
            }
            r[k].p->variate.k = i < STEPS / 4 ? 0 : 3;
            CHECK(!hybrid_trainer_step(r[k].t, batches, &a[k], &e), "step %d: %s", i + 1, e.message);
        }
        worst = LARGER(worst, fabs(a[0].loss - a[1].loss));
        norms = LARGER(norms, fabs(a[0].grad_norm / a[1].grad_norm - 1));
    }
    CHECK(worst <= 1e-5 && norms <= 1e-4, "losses %.2g apart, norms %.2g", worst, norms);
    CHECK(r[1].p->variate.n_forward == STEPS / 2 - 3, "%d batches did not go back",
          (int)r[1].p->variate.n_forward);
    CHECK(fabs(r[0].p->variate.mean / r[1].p->variate.mean - 1) < 1e-3, "along the moment: %g and %g",
          r[0].p->variate.mean, r[1].p->variate.mean);
    printf("  D      %d steps, losses within %.1e of the CPU's, norms within %.1e\n", STEPS / 2, worst, norms);
    for (k = 0; k < 2; k++) run_close(&r[k]);
}

/* Beside a GPU, which is that much faster than the host, world models learn more seldom. */
static void check_share(void)
{
    run r[2];
    int i, k;
    TEST("the share of the world models");
    n_members = 1;
    for (k = 0; k < 2; k++) {
        run_open(&r[k], k == 1);
        run_watch(&r[k], HYBRID_PREDICT_OFF);
        for (i = 0; i < 2 * WINDOW; i++) run_step(&r[k], NULL);
    }
    n_members = 0;
    CHECK(r[0].p->now.work_owed > 0 && fabs(r[0].p->now.work_owed / r[1].p->now.work_owed - 100) < 1e-6,
          "%g operations on the CPU, %g on the GPU", r[0].p->now.work_owed, r[1].p->now.work_owed);
    CHECK(r[1].p->foresees && r[1].p->now.n_windows == 2, "they foresee nothing");
    for (k = 0; k < 2; k++) run_close(&r[k]);
}

/* ---- world models ------------------------------------------------------------------------------------------------ */

enum { MEMBERS = 2, LESSONS = 3 };

/* Earlier ticks, enough for some that are held back from a member. */
static void world_fill(hyb_world *w)
{
    float x[HYB_WORLD_FEATURES], ahead[HYB_HORIZONS];
    int t, i;
    for (t = 0; t < 40; t++) {
        for (i = 0; i < HYB_WORLD_FEATURES; i++) x[i] = (float)sin(0.3 * t + i);
        for (i = 0; i < HYB_HORIZONS; i++) ahead[i] = 0.01f * (float)(i - t);
        hyb_world_tick(w, x, (float)(0.1 * sin(1.7 * t) - 0.01 * t), -0.01f * (float)t, ahead);
    }
}

/* Steps up to the end of a window, at which the world models have time enough to learn; waits of the GPU. */
static unsigned long long run_lesson(run *r)
{
    const int64_t windows = r->p->now.n_windows;
    unsigned long long syncs = 0;
    while (r->p->now.n_windows == windows) {
        r->p->now.work_owed = hyb_world_cost(r->p->world);
        syncs = counts ? counts->syncs : 0;
        run_step(r, NULL);
    }
    return counts ? counts->syncs - syncs : 0;
}

/* How far worlds are apart: weights at most, and on the average; trusts and losses. */
static void worlds_apart(const hyb_world *a, const hyb_world *b, double apart[4])
{
    const size_t n = (size_t)a->n_members * HYB_MEMBER_ROOM;
    const double *x[2][2];
    size_t i, k;
    memset(apart, 0, sizeof *apart * 4);
    for (i = 0; i < n; i++) {
        const double d = fabs((double)a->weights[i] - (double)b->weights[i]);
        apart[0] = LARGER(apart[0], d);
        apart[1] += d / (double)n;
    }
    x[0][0] = (const double *)a->trusts;
    x[0][1] = (const double *)b->trusts;
    x[1][0] = (const double *)a->taught;
    x[1][1] = (const double *)b->taught;
    for (k = 0; k < 2; k++)
        for (i = 0; i < (size_t)a->n_members * (k ? sizeof *a->taught : sizeof *a->trusts) / sizeof(double); i++)
            apart[2 + k] = LARGER(apart[2 + k], fabs(x[k][0][i] - x[k][1][i]) / (1 + fabs(x[k][0][i])));
}

/* Its weights and moments, and what its means are worth, become those of another. */
static void world_copy(hyb_world *to, const hyb_world *from)
{
    const size_t bytes = sizeof *to->weights * (size_t)to->n_members * HYB_MEMBER_ROOM;
    memcpy(to->weights, from->weights, bytes);
    memcpy(to->m, from->m, bytes);
    memcpy(to->v, from->v, bytes);
    memcpy(to->trusts, from->trusts, sizeof *to->trusts * (size_t)to->n_members);
}

/* With one byte less than all of it takes, they learn on the host. */
static void check_learning_room(void)
{
    run r;
    uint64_t most = 0;
    int i;
    for (i = 0; i < 3; i++) {
        run_open(&r, true);
        r.t->desc.max_bytes = (size_t)(i ? most - (uint64_t)(i == 2) : 0);
        run_watch(&r, HYBRID_PREDICT_OFF);
        CHECK((r.p->world->on != NULL) == (i < 2), "run %d of max_bytes", i);
        most = i ? most : r.t->plan.total + r.p->bytes;
        CHECK(i < 2 || r.t->plan.total + r.p->bytes + 8 * (uint64_t)MEMBERS * HYB_MEMBER_ROOM < most, "%llu bytes",
              (unsigned long long)r.p->bytes);
        run_close(&r);
    }
}

/* World models learn on the GPU what they learn on the host, for one wait more; and when it fails, they go on on the
 * host, and so does the training. */
static void check_learning(void)
{
    run r[2];
    double apart[4];
    int i, k;
    TEST("world models that learn on the GPU");
    n_members = MEMBERS;
    for (k = 0; k < 2; k++) {
        run_open(&r[k], true);
        run_watch(&r[k], HYBRID_PREDICT_OFF);
        CHECK(r[k].p->world->on != NULL, "they learn on the host");
        world_fill(r[k].p->world);
    }
    hyb_world_detach(r[1].p->world);
    for (i = 0; i < LESSONS; i++) {
        const unsigned long long in = counts ? counts->bytes_in : 0, out = counts ? counts->bytes_out : 0;
        const unsigned long long waits = run_lesson(&r[0]), in_both = counts ? counts->bytes_in - in : 0;
        const unsigned long long out_both = counts ? counts->bytes_out - out : 0;
        const unsigned long long on_host = run_lesson(&r[1]);
        CHECK(waits == on_host + (counts ? 1 : 0), "window %d: %llu waits, %llu without it", i, waits, on_host);
        if (i == LESSONS - 1 && counts)
            printf("  a step of learning, %d members: %llu bytes to the GPU, %llu from it\n", MEMBERS,
                   in_both - (counts->bytes_in - in - in_both), out_both - (counts->bytes_out - out - out_both));
    }
    worlds_apart(r[0].p->world, r[1].p->world, apart);
    CHECK(r[1].p->world->trusts[0].n[0] + r[1].p->world->trusts[1].n[0] > 20, "nothing was held back");
    printf("  %d steps: weights %.1e apart at most and %.1e on the average, trusts %.1e, losses %.1e\n", LESSONS,
           apart[0], apart[1], apart[2], apart[3]);
    CHECK(r[0].p->world->n_learned == LESSONS && r[1].p->world->n_learned == LESSONS, "%d and %d steps",
          (int)r[0].p->world->n_learned, (int)r[1].p->world->n_learned);
    /* Adam makes a step of every gradient, also where there is nothing of it but what was rounded off */
    CHECK(apart[0] < 1e-4 && apart[1] < 1e-7 && apart[2] < 1e-5 && apart[3] < 1e-5, "worlds are apart");
    world_copy(r[1].p->world, r[0].p->world);
    hyb_cuda_of(r[0].p->world->on->be)->queue->failure.result = HYBRID_ERROR_DEVICE;
    for (k = 0; k < 2; k++) run_lesson(&r[k]);
    worlds_apart(r[0].p->world, r[1].p->world, apart);
    CHECK(!r[0].p->world->on && r[0].p->world->n_learned == LESSONS + 1, "%d steps after a failure",
          (int)r[0].p->world->n_learned);
    CHECK(apart[0] == 0 && apart[2] == 0 && apart[3] == 0, "after a failure weights are %g apart", apart[0]);
    for (k = 0; k < 2; k++) run_close(&r[k]);
    check_learning_room();
    n_members = 0;
}

/* ---- going back -------------------------------------------------------------------------------------------------- */

/* Steps up to the one after which weights are moved; false: they never are. */
static bool run_to_move(run *r, hybrid_train_metrics *a)
{
    int i;
    for (i = 0; i < STEPS; i++) {
        run_step(r, a);
        if (a->predict.event == HYBRID_PREDICT_MOVED) return true;
    }
    return false;
}

/* A snapshot is copied within the device, and nobody waits for it. */
static void check_snapshot(run *r)
{
    const emu_counts before = *counts;
    hyb_displacement_keep(&r->p->disp);
    hyb_displacement_go_back(&r->p->disp);
    CHECK(counts->syncs == before.syncs && counts->bytes_in == before.bytes_in && counts->bytes_out == before.bytes_out,
          "a snapshot went over the host");
    if (getenv("EMU_DEFER")) return; /* they are not done before somebody waits */
    CHECK(counts->copies_on_device - before.copies_on_device == 6, "%llu copies",
          counts->copies_on_device - before.copies_on_device);
}

/* A weight that is no number: the next loss is none, and the run goes back to what it was before the move, bit for bit:
 * to the weights and states of a run that never moved. */
static void check_rollback(void)
{
    static const float nothing[4] = { HUGE_VALF, HUGE_VALF, HUGE_VALF, HUGE_VALF };
    run moved, plain;
    hybrid_train_metrics a;
    hyb_backend *be;
    hybrid_error e;
    float *values[3];
    int64_t step;
    int i;
    TEST("a roll-back");
    run_open(&moved, true);
    run_watch(&moved, HYBRID_PREDICT_A);
    run_open(&plain, true);
    CHECK(run_to_move(&moved, &a), "it never moves");
    step = moved.t->step;
    for (i = 0; i < step; i++) run_step(&plain, NULL);
    values[0] = run_values(&plain);
    values[1] = run_values(&moved);
    CHECK(!same_values(&plain, values[0], values[1]), "a move changed nothing");
    run_step(&moved, &a);
    be = moved.t->objective->cut.real;
    be->ops->write(be, moved.t->store.weights + moved.t->store.params[0].at, nothing, sizeof nothing);
    CHECK(!be->ops->sync(be, &e), "%s", e.message);
    run_step(&moved, &a);
    CHECK(a.predict.event == HYBRID_PREDICT_WENT_BACK && moved.t->step == step, "event %d, step %d of %d",
          (int)a.predict.event, (int)moved.t->step, (int)step);
    values[2] = run_values(&moved);
    CHECK(same_values(&plain, values[0], values[2]), "it went back to something else");
    for (i = 0; i < 4; i++) run_step(&moved, &a);
    CHECK(fabs(a.loss) < 1e3, "then the loss is %g", a.loss);
    for (i = 0; i < 3; i++) free(values[i]);
    if (counts) check_snapshot(&moved);
    run_close(&moved);
    run_close(&plain);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

/* A checkpoint of the GPU, in the middle of Correct: on another trainer there the run goes on bit for bit, and on the
 * CPU with the same losses. */
static void check_checkpoint(void)
{
    run r, other[2];
    hybrid_train_metrics a[3];
    hybrid_error e;
    float *values[2];
    char path[64];
    int i, k;
    TEST("a checkpoint");
    snprintf(path, sizeof path, "build/cuda-predict-%d.gguf", (int)getpid());
    run_open(&r, true);
    run_watch(&r, HYBRID_PREDICT_A);
    for (k = 0; k < 2; k++) {
        run_open(&other[k], k == 0);
        run_watch(&other[k], HYBRID_PREDICT_A);
    }
    CHECK(run_to_move(&r, &a[0]), "it never moves");
    CHECK(r.p->now.phase == HYB_PHASE_CORRECT, "phase %d", (int)r.p->now.phase);
    CHECK(!hybrid_trainer_save(r.t, path, &e), "%s", e.message);
    for (k = 0; k < 2; k++) CHECK(!hybrid_trainer_load(other[k].t, path, &e), "%s", e.message);
    for (i = 0; i < 3 * WINDOW; i++) {
        run_step(&r, &a[0]);
        for (k = 0; k < 2; k++) run_step(&other[k], &a[k + 1]);
        CHECK(a[0].loss == a[1].loss && a[0].predict.event == a[1].predict.event, "losses %.17g and %.17g", a[0].loss,
              a[1].loss);
        CHECK(fabs(a[0].loss - a[2].loss) < 1e-5 && a[0].predict.event == a[2].predict.event,
              "losses %.9g and %.9g on the CPU", a[0].loss, a[2].loss);
    }
    values[0] = run_values(&r);
    values[1] = run_values(&other[0]);
    CHECK(same_values(&r, values[0], values[1]), "other weights or states");
    CHECK(r.p->now.n_moves > 2, "%d moves", (int)r.p->now.n_moves);
    for (k = 0; k < 2; k++) {
        free(values[k]);
        run_close(&other[k]);
    }
    run_close(&r);
    remove(path);
}

/* ---- formats and places ------------------------------------------------------------------------------------------ */

/* Moments that go to the host while steps are predicted: the same bits, a roll-back to a snapshot included; and they
 * are there as soon as weights have moved. With formats each step has that of its phase: the back end is another one
 * then. */
static void check_upkeep(void)
{
    run r[3];
    hybrid_train_metrics a[3];
    hybrid_predict_metrics told;
    hybrid_error e;
    float *values[2];
    int i, k, away = 0;
    TEST("formats and places");
    for (k = 0; k < 3; k++) {
        run_open(&r[k], true);
        run_watch_as(&r[k], HYBRID_PREDICT_A, k == 2, k > 0);
    }
    for (i = 0; i < STEPS; i++) {
        for (k = 0; k < 3; k++) {
            if (i == STEPS - 4 && r[k].p->now.can_go_back) {
                hyb_backend *be = r[k].t->objective->cut.real;
                const float nothing = HUGE_VALF;
                be->ops->write(be, r[k].t->store.weights + r[k].t->store.params[0].at, &nothing, sizeof nothing);
                CHECK(!be->ops->sync(be, &e), "%s", e.message);
            }
            run_step(&r[k], &a[k]);
            CHECK(!r[k].t->store.states == (k > 0 && a[k].predict.event == HYBRID_PREDICT_MOVED), "step %d: states", i);
        }
        away += a[1].predict.event == HYBRID_PREDICT_MOVED;
        CHECK(a[0].predict.event == a[1].predict.event, "step %d: event %d", i, (int)a[1].predict.event);
        if (a[0].predict.event == HYBRID_PREDICT_WENT_BACK) continue; /* its loss is not a number */
        CHECK(a[0].loss == a[1].loss, "step %d: losses %.17g and %.17g", i, a[0].loss, a[1].loss);
        CHECK(a[2].format == (a[2].predict.phase == HYBRID_PHASE_FULL ? HYBRID_TYPE_BF16 : HYBRID_TYPE_F32) ||
                  a[2].predict.event == HYBRID_PREDICT_WENT_BACK,
              "step %d, phase %d: format %d", i, (int)a[2].predict.phase, (int)a[2].format);
        CHECK(fabs(a[0].loss - a[2].loss) < 0.02 * a[0].loss, "step %d: losses %g and %g", i, a[0].loss, a[2].loss);
    }
    for (k = 0; k < 2; k++) values[k] = run_values(&r[k]);
    CHECK(same_values(&r[0], values[0], values[1]), "other weights or states");
    hybrid_predictor_metrics(r[1].p, &told);
    CHECK(away > 2 && told.n_parked == away && told.n_rollbacks == 1 &&
              told.parked_bytes == (uint64_t)away * sizeof(float) * (uint64_t)r[1].t->store.n_states,
          "%d times, %d moves, %d roll-backs", (int)told.n_parked, away, (int)told.n_rollbacks);
    CHECK(a[2].n_format_changes > 3 && a[2].format_bytes > 0, "%d changes", (int)a[2].n_format_changes);
    for (k = 0; k < 2; k++) free(values[k]);
    for (k = 0; k < 3; k++) run_close(&r[k]);
}

/* ---- who waits for whom ------------------------------------------------------------------------------------------ */

typedef struct waits {
    unsigned long long plain, window; /* of a step: without a window's end, with one */
} waits;

static waits count_waits(hybrid_predict_mode mode, bool watched)
{
    run r;
    waits w;
    int i;
    memset(&w, 0, sizeof w);
    run_open(&r, true);
    if (watched) run_watch(&r, mode);
    for (i = 0; i < STEPS; i++) {
        const unsigned long long syncs = counts->syncs;
        const int64_t windows = watched ? r.p->now.n_windows : 0;
        unsigned long long *of;
        run_step(&r, NULL);
        of = !watched || r.p->now.n_windows == windows ? &w.plain : &w.window;
        if (i >= WINDOW) *of = LARGER(*of, counts->syncs - syncs); /* the first ones make things ready */
    }
    run_close(&r);
    return w;
}

/* A step waits as often as without a predictor; the one that ends a window once more, for the products of d, b and s,
 * and every sixteenth of these a second time, for the size of all weights. */
static void check_waits(void)
{
    static const hybrid_predict_mode modes[] = { HYBRID_PREDICT_OFF, HYBRID_PREDICT_A, HYBRID_PREDICT_A2,
                                                 HYBRID_PREDICT_B };
    const waits without = count_waits(HYBRID_PREDICT_OFF, false);
    size_t i;
    TEST("waits");
    printf("  waits of a step: %llu without a predictor", without.plain);
    for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        const waits w = count_waits(modes[i], true);
        CHECK(w.plain == without.plain, "mode %d: %llu in a step, %llu without a predictor", (int)modes[i], w.plain,
              without.plain);
        CHECK(w.window == without.plain + 1, "mode %d: %llu at the end of a window", (int)modes[i], w.window);
        printf("; mode %d: %llu, %llu at a window's end", (int)modes[i], w.plain, w.window);
    }
    printf("\n");
}

/* ---- low-rank factors of a matrix that lives on the GPU ---------------------------------------------------------- */

enum { TALL = 150, WIDE = 70, RANK = 4 };

/* A matrix of seven directions, each half as long as the one before it; k: the k-th of them. `same`: of its columns
 * all are alike, so that nothing is left for the second direction. */
static void low_matrix(float *x, int k, bool same)
{
    int i, j, d;
    for (i = 0; i < TALL; i++)
        for (j = 0; j < WIDE; j++) {
            double sum = 0;
            for (d = 0; d < (same ? 1 : 7); d++)
                sum += ldexp(1, -d) * sin(0.7 * i * (d + 1) + k + d) * (same ? 1 : cos(0.3 * j * (d + 2) + 2 * d));
            x[i * WIDE + j] = (float)sum;
        }
}

/* Factors on one device, fed with three matrices; the carry at the end. */
typedef struct low {
    hyb_lowrank f;
    void *memory;
    float *carry;
} low;

static void low_feed(run *r, low *l, int n, bool same, const float *extra)
{
    hyb_device *device = r->t->store.device;
    hyb_backend *be = r->t->objective->cut.real;
    const size_t bytes = sizeof(float) * TALL * WIDE;
    float *x = (float *)malloc(bytes);
    void *on[3] = { NULL, NULL, NULL }; /* the matrix, the carry, the work */
    hybrid_error e;
    unsigned long long syncs;
    int k;
    memset(l, 0, sizeof *l);
    l->memory = malloc(hyb_lowrank_bytes(TALL, WIDE, RANK, false));
    l->carry = (float *)malloc(bytes);
    hyb_lowrank_init(&l->f, TALL, WIDE, RANK, false, 3, l->memory);
    for (k = 0; k < 2; k++) CHECK(!device->ops->alloc(device, bytes, &on[k], &e), "%s", e.message);
    be->ops->zero(be, on[1], bytes);
    hyb_lowrank_carry(&l->f, (float *)on[1]);
    CHECK(!device->ops->alloc(device, hyb_lowrank_work(&l->f), &on[2], &e), "%s", e.message);
    for (k = 0; k <= n; k++) {
        if (k < n)
            low_matrix(x, k, same);
        else if (extra)
            memcpy(x, extra, bytes);
        else
            break;
        be->ops->write(be, on[0], x, bytes);
        CHECK(!be->ops->sync(be, &e), "%s", e.message);
        syncs = counts ? counts->syncs : 0;
        CHECK(hyb_lowrank_add(&l->f, be, (const float *)on[0], on[2], &e) == (k < n ? HYBRID_OK : HYBRID_ERROR_NUMERIC),
              "matrix %d: %s", k, e.message);
        CHECK(!k || !counts || device->ops->is_host || counts->syncs - syncs <= 2, "%llu waits", counts->syncs - syncs);
    }
    be->ops->read(be, l->carry, on[1], bytes);
    CHECK(!be->ops->sync(be, &e), "%s", e.message);
    for (k = 0; k < 3; k++) device->ops->free(device, on[k]);
    free(x);
}

/* How far the products of factors are apart. */
static double low_apart(const low *a, const low *b)
{
    double worst = 0;
    int i, j, k;
    for (i = 0; i < TALL; i++)
        for (j = 0; j < WIDE; j++) {
            double sum = 0;
            for (k = 0; k < RANK; k++)
                sum += (double)a->f.left[i * RANK + k] * (double)a->f.sigma[k] * (double)a->f.right[k * WIDE + j] -
                       (double)b->f.left[i * RANK + k] * (double)b->f.sigma[k] * (double)b->f.right[k * WIDE + j];
            worst = LARGER(worst, fabs(sum));
        }
    return worst;
}

static void low_free(low *l)
{
    free(l->memory);
    free(l->carry);
}

/* The factors, what is carried, and the norms are the CPU's, also of a matrix of one direction alone; one with a value
 * that is no number is refused, and leaves all as it was. */
static void check_lowrank(void)
{
    run r[2];
    low l[3];
    float *bad = (float *)malloc(sizeof(float) * TALL * WIDE);
    int k, same;
    TEST("low-rank factors");
    for (k = 0; k < 2; k++) run_open(&r[k], k == 1);
    low_matrix(bad, 1, false);
    bad[77] = HUGE_VALF;
    for (same = 0; same < 2; same++) {
        double worst = 0;
        for (k = 0; k < 2; k++) low_feed(&r[k], &l[k], 3, same, NULL);
        low_feed(&r[1], &l[2], 3, same, bad);
        for (k = 0; k < TALL * WIDE; k++) worst = LARGER(worst, fabs((double)l[0].carry[k] - (double)l[1].carry[k]));
        CHECK(low_apart(&l[0], &l[1]) < 1e-4 && worst < 1e-4, "factors %g apart, carries %g", low_apart(&l[0], &l[1]),
              worst);
        CHECK(fabs(l[0].f.norm - l[1].f.norm) < 1e-5 * l[0].f.norm &&
                  fabs(l[0].f.discarded - l[1].f.discarded) < 1e-4 * l[0].f.norm,
              "norms %g of %g and %g of %g", l[0].f.discarded, l[0].f.norm, l[1].f.discarded, l[1].f.norm);
        CHECK(same || l[1].f.discarded > 1e-2 * l[1].f.norm, "nothing is left out");
        CHECK(!memcmp(l[1].carry, l[2].carry, sizeof(float) * TALL * WIDE) && low_apart(&l[1], &l[2]) == 0 &&
                  l[1].f.n == l[2].f.n,
              "a matrix that was refused left something");
        for (k = 0; k < 3; k++) low_free(&l[k]);
    }
    for (k = 0; k < 2; k++) run_close(&r[k]);
    free(bad);
}

int main(void)
{
    double plain[STEPS];
    hybrid_error why;
    run r;
    size_t count;
    int i;
    TEST("device");
    if (hybrid_devices(NULL, NULL, 0, &count, &why) || !count) {
        SKIP("no GPU: %s", why.message);
        return test_end();
    }
    run_open(&r, true);
    counts = find_counts(&r);
    for (i = 0; i < STEPS; i++) plain[i] = run_step(&r, NULL);
    run_close(&r);
    PART(check_mode("off", HYBRID_PREDICT_OFF, plain));
    PART(check_mode("A", HYBRID_PREDICT_A, plain));
    PART(check_mode("A2", HYBRID_PREDICT_A2, plain));
    PART(check_mode("B", HYBRID_PREDICT_B, plain));
    PART(check_mode("C", HYBRID_PREDICT_C, plain));
    PART(check_mode("auto", HYBRID_PREDICT_AUTO, plain));
    PART(check_partial());
    PART(check_share());
    PART(check_learning());
    PART(check_rollback());
    PART(check_checkpoint());
    PART(check_upkeep());
    PART(check_lowrank());
    if (counts) PART(check_waits());
    return test_end();
}
