/* For test_train.c: steps in slices, layers that run forward again, what a trainer takes of memory and does with less,
 * and several ranks. */
#ifndef TRAIN_SLICES_H
#define TRAIN_SLICES_H
#if defined(__unix__) || defined(__APPLE__)
    #include <pthread.h>
    #include <time.h>
    #define RANKS
#endif

/* Weights, gradients and states of two trainers. */
static void slices_same(const lesson *a, const lesson *b, const char *what)
{
    const hyb_store *s = &a->t->store, *o = &b->t->store;
    int i;
    for (i = 0; i < s->n_params; i++) { /* not what lies between them */
        const hyb_param *p = &s->params[i];
        const size_t bytes = sizeof(float) * (size_t)p->n;
        CHECK(!memcmp(s->weights + p->at, o->weights + p->at, bytes), "%s: other weights", what);
        CHECK(!memcmp(s->grads + p->at, o->grads + p->at, bytes), "%s: other gradients", what);
    }
    CHECK(!memcmp(s->states, o->states, sizeof(float) * (size_t)s->n_states), "%s: other states", what);
}

static uint64_t slices_sum(const hybrid_trainer *t)
{
    hyb_hash_key key = { 1, 2 };
    const hyb_store *s = &t->store;
    int i;
    for (i = 0; i < s->n_params; i++)
        key.k0 = hyb_hash(&key, s->weights + s->params[i].at, sizeof(float) * (size_t)s->params[i].n);
    return hyb_hash(&key, s->states, sizeof(float) * (size_t)s->n_states) ^ (uint64_t)t->step;
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

/* What the trainer refuses in the middle of a step. */
static void slices_refused(lesson *l)
{
    hybrid_error e;
    double loss = 7;
    CHECK(hybrid_trainer_step(l->t, &l->batch, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in use"),
          "step: %s", e.message);
    CHECK(hybrid_trainer_evaluate(l->t, &l->batch, &loss, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in use"),
          "evaluate: %s", e.message);
    CHECK(hybrid_trainer_save(l->t, "build/none.ckpt", &e) == HYBRID_ERROR_INVALID && strstr(e.message, "cancel"),
          "save: %s", e.message);
    CHECK(hybrid_trainer_load(l->t, "build/none.ckpt", &e) == HYBRID_ERROR_INVALID && strstr(e.message, "cancel"),
          "load: %s", e.message);
    CHECK(loss == 7, "a loss that was refused");
}

/* Two steps by slices of a budget beside two whole ones: the same bits; between slices, those of before. */
static void test_slices(const char *name, uint64_t budget, hybrid_trainer_desc d)
{
    lesson whole, cut;
    hybrid_train_metrics one, two;
    hybrid_error e;
    int step, n = 0;
    if (!lesson_open(&whole, name, NULL, 1, d) || !lesson_open(&cut, name, NULL, 1, d)) return;
    for (step = 0; step < 2; step++) {
        const uint64_t before = slices_sum(cut.t);
        hybrid_train_batch batches[2];
        bool done = false;
        batches[0] = batches[1] = cut.batch;
        memset(&two, 7, sizeof two);
        CHECK(!hybrid_trainer_step(whole.t, batches, &one, &e), "%s", e.message);
        for (n = 0; !done && n < 100000; n++) {
            if (hybrid_trainer_work(cut.t, batches, budget, &done, &two, &e)) {
                CHECK(0, "%s", e.message);
                break;
            }
            CHECK(done || slices_sum(cut.t) == before, "slice %d changed weights or states", n);
            CHECK(done || two.step != one.step, "metrics of slice %d", n);
            if (n == 20 && !done && !budget) slices_refused(&cut);
        }
        CHECK(one.step == two.step && one.loss == two.loss && one.grad_norm == two.grad_norm &&
                  one.n_tokens == two.n_tokens && one.rate == two.rate,
              "%s: other metrics", name);
        CHECK(two.seconds > 0 && two.seconds < 1000, "%g seconds", two.seconds);
        slices_same(&whole, &cut, name);
    }
    CHECK(budget > 1000000 ? n == 1 : budget || n > 25 * whole.m->hp.n_layer, "%s: %d slices", name, n);
    lesson_close(&whole);
    lesson_close(&cut);
}

/* A step that is cancelled, or fails, after any number of slices, was not begun; a trainer may go in the middle of one;
 * a batch that is changed into one that cannot be is refused. */
static void test_slices_end(void)
{
    lesson l, other;
    hybrid_error e;
    bool done = true;
    int n, i;
    hybrid_result r = HYBRID_OK;
    if (!lesson_open(&l, "gemma2", NULL, 1, lesson_desc()) || !lesson_open(&other, "gemma2", NULL, 1, lesson_desc()))
        return;
    for (n = 1; n < 60; n += 7) {
        for (i = 0; i < n; i++) CHECK(!hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e), "%s", e.message);
        CHECK(!done, "done after %d slices", n);
        hybrid_trainer_cancel(l.t);
    }
    hybrid_trainer_cancel(l.t);
    hybrid_trainer_cancel(NULL);
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
    CHECK(!hybrid_trainer_step(other.t, &other.batch, NULL, &e), "%s", e.message);
    slices_same(&l, &other, "after steps that were cancelled");
    CHECK(!hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e), "%s", e.message);
    l.ids[5] = 1 << 30; /* after it was looked at */
    for (i = 0; i < 1000 && !r && !done; i++) r = hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(e.message, "token 5"), "a batch that was changed: %s",
          r ? e.message : "");
    l.ids[5] = other.ids[5];
    done = false;
    r = hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e);
    l.batch.n_seq = 1 << 20;
    for (i = 0; i < 1000 && !r && !done; i++) r = hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(e.message, "has room for"), "sizes that were changed: %s",
          r ? e.message : "");
    l.batch.n_seq = 0;
    CHECK(hybrid_trainer_work(l.t, NULL, 0, &done, NULL, &e) == HYBRID_ERROR_INVALID, "no batches");
    CHECK(hybrid_trainer_work(l.t, &l.batch, 0, NULL, NULL, &e) == HYBRID_ERROR_INVALID, "no done");
    CHECK(hybrid_trainer_work(NULL, &l.batch, 0, &done, NULL, &e) == HYBRID_ERROR_INVALID, "no trainer");
    CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "after it: %s", e.message);
    for (i = 0; i < 40; i++) CHECK(!hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e), "%s", e.message);
    CHECK(!done, "done after 40 slices");
    lesson_close(&l);
    lesson_close(&other);
}

/* Contexts run between slices, and see the weights of before. */
static void test_slices_context(void)
{
    static float before[256], between[256];
    lesson l;
    hybrid_context_desc cd;
    hybrid_context *c = NULL;
    hybrid_error e;
    bool done = false;
    int n;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 64;
    if (!lesson_open(&l, "llama-biases", NULL, 2, lesson_desc())) return;
    CHECK(!hybrid_context_create(l.m, &cd, &c, &e), "%s", e.message);
    lesson_logits(c, &l, before);
    for (n = 0; n < 1000 && !done; n++) {
        CHECK(!hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e), "%s", e.message);
        if (n % 9 || done) continue;
        lesson_logits(c, &l, between);
        CHECK(!memcmp(before, between, sizeof(float) * (size_t)l.m->hp.n_vocab), "other logits after slice %d", n);
    }
    lesson_logits(c, &l, between);
    CHECK(done && memcmp(before, between, sizeof(float) * (size_t)l.m->hp.n_vocab), "the step left the weights");
    hybrid_context_destroy(c);
    lesson_close(&l);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* A plan is what is then taken, to the byte. Its plan goes to *plan. */
static bool room_lesson(hybrid_runtime *rt, ration *given, hybrid_trainer_desc d, hybrid_train_plan *plan)
{
    const size_t before = given->live;
    hybrid_trainer *t = NULL;
    hybrid_error e;
    HYB_UNUSED(rt);
    if (hybrid_trainer_plan(&d, plan, &e)) {
        CHECK(0, "%s", e.message);
        return false;
    }
    CHECK(given->live == before, "a plan leaves %ld bytes", (long)(given->live - before));
    CHECK(plan->total ==
              plan->gradients + plan->states + plan->kept + plan->logits + plan->scratch + plan->rounded + plan->other,
          "the total is not the sum");
    if (hybrid_trainer_create(&d, &t, &e)) {
        CHECK(0, "%s", e.message);
        return false;
    }
    CHECK(given->live - before == plan->total, "recompute_every %d: %ld bytes were taken, %llu planned",
          d.recompute_every, (long)(given->live - before), (unsigned long long)plan->total);
    CHECK(!d.max_bytes || plan->total <= d.max_bytes, "more than max_bytes");
    hybrid_trainer_destroy(t);
    /* what an adapter goes back to stays with it */
    CHECK(d.adapter || given->live == before, "%ld bytes leaked", (long)(given->live - before));
    return true;
}

static hybrid_runtime *room_runtime(ration *given, int n_threads,
                                    void (*log)(void *user, hybrid_log_level level, const char *message), void *user)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_error e;
    memset(given, 0, sizeof *given);
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = ration_alloc;
    rd.allocator.free = ration_free;
    rd.allocator.user = given;
    rd.logger.log = log;
    rd.logger.user = user;
    rd.n_threads = n_threads;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    return rt;
}

static void test_room(const char *name, int n_threads)
{
    static const int every[] = { 0, 1, 2 };
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_plan plans[3];
    ration given;
    hybrid_runtime *rt = room_runtime(&given, n_threads, NULL, NULL);
    int i;
    TEST(name);
    d.model = lesson_model(rt, name, true);
    d.n_seq = 2;
    for (i = 0; i < 3; i++) {
        d.recompute_every = every[i];
        d.n_ctx = 50 + i;
        room_lesson(rt, &given, d, &plans[i]);
    }
    for (i = 1; i < 4; i++) { /* other states, and what an update works in */
        hybrid_train_plan plan;
        d.recompute_every = i % 2;
        d.optimizer = i == 2 ? HYBRID_OPTIMIZER_MUON : HYBRID_OPTIMIZER_SGD;
        d.momentum = i == 3 ? 0.9f : 0;
        d.ema = i == 1 ? 0 : 0.99f;
        room_lesson(rt, &given, d, &plan);
        CHECK(i != 1 || plan.states < plans[0].gradients, "SGD keeps %llu bytes", (unsigned long long)plan.states);
    }
    CHECK(plans[1].kept < plans[0].kept, "%d layers that run forward again keep %llu bytes, and %llu",
          (int)((hybrid_model *)d.model)->hp.n_layer, (unsigned long long)plans[1].kept,
          (unsigned long long)plans[0].kept);
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes leaked in the end", (long)given.live);
}

/* Of an adapter over frozen weights. */
static void test_room_adapter(const char *name, const char *target, int32_t rank)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_adapter_desc ad;
    hybrid_train_plan plan;
    hybrid_error e;
    ration given;
    hybrid_runtime *rt = room_runtime(&given, 1, NULL, NULL);
    hybrid_model *m = lesson_model(rt, name, false);
    TEST("the plan of an adapter");
    memset(&ad, 0, sizeof ad);
    ad.rank = rank;
    ad.targets = target ? &target : NULL;
    ad.n_targets = target != NULL;
    CHECK(!hybrid_adapter_create(m, &ad, &d.adapter, &e), "%s", e.message);
    d.n_seq = 2;
    d.n_ctx = 40;
    d.model = m;
    if (d.adapter) room_lesson(rt, &given, d, &plan);
    d.recompute_every = 1;
    if (d.adapter) room_lesson(rt, &given, d, &plan);
    hybrid_adapter_destroy(d.adapter);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    CHECK(!given.live, "%ld bytes leaked in the end", (long)given.live);
}

static void room_log(void *user, hybrid_log_level level, const char *message)
{
    if (level == HYBRID_LOG_WARN) snprintf((char *)user, 512, "%s", message);
}

/* Less and less memory: the order of what is done without, the same steps, and a sentence with numbers in the end. */
static void test_room_less(void)
{
    enum { N = 6 };
    static int32_t ids[N * LESSON_T], targets[N * LESSON_T];
    static char said[512];
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch batch = { ids, targets, NULL, 0, 0 };
    hybrid_train_plan all, plan, last;
    hybrid_error e;
    ration given;
    hybrid_runtime *rt = room_runtime(&given, 1, room_log, said);
    lesson whole, less;
    int i, n_shapes = 0, n_parts = 0;
    TEST("with less memory");
    memset(&less, 0, sizeof less);
    d.n_seq = N;
    if (!lesson_open(&whole, "qwen3", NULL, 1, d)) return;
    for (i = 0; i < N * LESSON_T; i++) {
        ids[i] = (whole.ids[i % (2 * LESSON_T)] + i / LESSON_T) % whole.m->hp.n_vocab;
        targets[i] = (whole.targets[i % (2 * LESSON_T)] + i / LESSON_T) % whole.m->hp.n_vocab;
    }
    CHECK(!hybrid_trainer_step(whole.t, &batch, NULL, &e), "%s", e.message);
    d.model = less.m = lesson_model(rt, "qwen3", true);
    d.n_ctx = LESSON_T;
    CHECK(!hybrid_trainer_plan(&d, &all, &e), "%s", e.message);
    last = all;
    for (d.max_bytes = all.total; !hybrid_trainer_plan(&d, &plan, &e); d.max_bytes = plan.total - 1) {
        CHECK(plan.n_seq <= last.n_seq && N % plan.n_seq == 0, "%d sequences after %d", plan.n_seq, last.n_seq);
        if (plan.n_seq == last.n_seq && n_shapes)
            CHECK(plan.recompute_every && (!last.recompute_every || plan.recompute_every < last.recompute_every),
                  "recompute_every %d after %d", plan.recompute_every, last.recompute_every);
        n_parts += plan.n_seq < last.n_seq;
        n_shapes++;
        last = plan;
        if (!room_lesson(rt, &given, d, &plan)) break;
        CHECK(!*said == (n_shapes == 1), "the log says: %s", said);
        if (hybrid_trainer_create(&d, &less.t, &e)) break;
        CHECK(!hybrid_trainer_step(less.t, &batch, NULL, &e), "%s", e.message);
        near_gradients("qwen3", "with less memory", &whole, &less);
        hybrid_trainer_destroy(less.t);
        hybrid_model_destroy(less.m);
        d.model = less.m = lesson_model(rt, "qwen3", true);
    }
    CHECK(n_shapes > 3 && n_parts >= 2, "%d shapes, %d of them fewer sequences", n_shapes, n_parts);
    CHECK(last.n_seq == 1, "%d sequences are the fewest", last.n_seq);
    CHECK(strstr(e.message, "max_bytes is") && strstr(e.message, "gradients"), "%s", e.message);
    less.t = (hybrid_trainer *)1;
    CHECK(hybrid_trainer_create(&d, &less.t, &e) == HYBRID_ERROR_LIMIT && !less.t, "too little");
    hybrid_model_destroy(less.m);
    hybrid_runtime_destroy(rt);
    lesson_close(&whole);
    CHECK(!given.live, "%ld bytes leaked in the end", (long)given.live);
}

/* ---- calls from within callbacks --------------------------------------------------------------------------------- */

/* An allocator that asks for everything else of the trainer whose call it serves. */
typedef struct nosy {
    ration given; /* first: the allocator's */
    hybrid_trainer *t;
    const lesson *l;
    bool asks;
    int n_asked;
} nosy;

#define NOSY(call) \
    do { \
        hybrid_error e_; \
        hybrid_error *e = &e_; \
        CHECK((call) == HYBRID_ERROR_INVALID && strstr(e->message, "in use"), "%s: %s", #call, e->message); \
    } while (0)

static void *nosy_alloc(void *user, size_t size)
{
    nosy *n = (nosy *)user;
    double loss;
    bool done;
    if (n->asks) {
        n->asks = false;
        n->n_asked++;
        NOSY(hybrid_trainer_step(n->t, &n->l->batch, NULL, e));
        NOSY(hybrid_trainer_work(n->t, &n->l->batch, 1, &done, NULL, e));
        NOSY(hybrid_trainer_evaluate(n->t, &n->l->batch, &loss, e));
        NOSY(hybrid_trainer_swap_ema(n->t, e));
        NOSY(hybrid_trainer_set_format(n->t, HYBRID_TYPE_BF16, e));
        NOSY(hybrid_trainer_save(n->t, "build/nosy.ckpt", e));
        NOSY(hybrid_trainer_load(n->t, "build/nosy.ckpt", e));
        NOSY(hybrid_trainer_set_user(n->t, "x", 1, e));
        NOSY(hybrid_trainer_export(n->t, "build/nosy.gguf", HYBRID_MIX_F32, e));
        hybrid_trainer_cancel(n->t);
        hybrid_trainer_destroy(n->t);
        n->asks = true;
    }
    return ration_alloc(&n->given, size);
}
static void nosy_free(void *user, void *block) { ration_free(&((nosy *)user)->given, block); }

/* Whatever calls back refuses every other call, and is done as if none had been made. */
static void test_nosy(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_model *m;
    hybrid_error e;
    lesson quiet;
    nosy n;
    int which;
    TEST("a trainer is called from its own callbacks");
    d.ema = 0.9f;
    if (!lesson_open(&quiet, "gpt2", NULL, 1, d)) return;
    memset(&n, 0, sizeof n);
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = nosy_alloc;
    rd.allocator.free = nosy_free;
    rd.allocator.user = &n;
    rd.n_threads = 1;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    m = lesson_model(rt, "gpt2", true);
    d.model = m;
    d.n_seq = 2;
    d.n_ctx = LESSON_T;
    CHECK(!hybrid_trainer_create(&d, &n.t, &e), "%s", e.message);
    n.l = &quiet;
    CHECK(!hybrid_trainer_step(n.t, &quiet.batch, NULL, &e), "%s", e.message);
    for (which = 0; which < 4; which++) {
        const uint64_t was = slices_sum(n.t);
        hybrid_result r = HYBRID_OK;
        n.n_asked = 0;
        n.asks = true;
        if (which == 0) r = hybrid_trainer_set_user(n.t, "bytes", 5, &e);
        if (which == 1) r = hybrid_trainer_save(n.t, "build/nosy-1.ckpt", &e);
        if (which == 2) r = hybrid_trainer_load(n.t, "build/nosy-1.ckpt", &e);
        if (which == 3) r = hybrid_trainer_export(n.t, "build/nosy-1.gguf", HYBRID_MIX_Q8_0, &e);
        n.asks = false;
        CHECK(!r && n.n_asked > 0, "%d: %s, asked %d times", which, r ? e.message : "", n.n_asked);
        CHECK(slices_sum(n.t) == was, "%d: something has changed", which);
    }
    CHECK(!hybrid_trainer_step(n.t, &quiet.batch, NULL, &e), "%s", e.message);
    remove("build/nosy-1.ckpt");
    remove("build/nosy-1.gguf");
    hybrid_trainer_destroy(n.t);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    lesson_close(&quiet);
    CHECK(!n.given.live, "%ld bytes leaked", (long)n.given.live);
}

/* ---- ranks ------------------------------------------------------------------------------------------------------- */

#ifdef RANKS
enum { N_RANKS = 2 };

/* Threads that are ranks, and what their sums go through. */
typedef struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    int n_here, round;
    double *sum;
    size_t room;
} meeting;

typedef struct rank {
    meeting *at;
    int number;
    const char *name;
    const int32_t *ids, *targets; /* of all ranks */
    const float *weights;
    int n_calls, fail_at; /* fail_at 0: never */
    size_t counts[64];
    bool spoilt; /* a batch that is refused */
    hybrid_trainer *trainer;
    hybrid_result inside; /* of a call from within the hook */
    hybrid_result result;
    hybrid_error error;
    hybrid_train_metrics metrics[2];
    uint64_t sums[2], before;
    lesson l;
} rank;

/* Waits for the other ranks, but not for ever: one that is lost must not hang the test. */
static bool rank_meet(meeting *m)
{
    const int round = m->round;
    struct timespec end;
    if (++m->n_here == N_RANKS) {
        m->n_here = 0;
        m->round++;
        pthread_cond_broadcast(&m->all_here);
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    while (m->round == round)
        if (pthread_cond_timedwait(&m->all_here, &m->mutex, &end)) return false;
    return true;
}

static bool rank_reduce(void *user, float *data, size_t count, void *stream)
{
    rank *r = (rank *)user;
    meeting *m = r->at;
    hybrid_error e;
    size_t i;
    bool ok;
    if (stream || r->n_calls >= 64) return false;
    r->counts[r->n_calls++] = count;
    r->inside = hybrid_trainer_step(r->l.t, &r->l.batch, NULL, &e);
    if (!strstr(e.message, "in use")) r->inside = HYBRID_OK;
    if (r->fail_at && r->n_calls >= r->fail_at) return false; /* both ranks do, or one would wait */
    pthread_mutex_lock(&m->mutex);
    if (count > m->room) m->sum = (double *)realloc(m->sum, sizeof *m->sum * (m->room = count));
    for (i = 0; i < count; i++) m->sum[i] = (m->n_here ? m->sum[i] : 0) + (double)data[i];
    ok = rank_meet(m);
    for (i = 0; i < count && ok; i++) data[i] = (float)m->sum[i];
    ok = ok && rank_meet(m); /* all have read it */
    pthread_mutex_unlock(&m->mutex);
    return ok;
}

/* n_batches 2: sequences 0 and 1 of a rank's four, then 2 and 3. */
static void *rank_run(void *user)
{
    rank *r = (rank *)user;
    hybrid_train_batch batches[2];
    int step, i;
    memset(batches, 0, sizeof batches);
    r->before = slices_sum(r->l.t);
    for (i = 0; i < 2; i++) {
        const int at = (r->number * 2 + i) * 2 * LESSON_T;
        batches[i].ids = r->ids + at;
        batches[i].targets = r->targets + at;
        batches[i].weights = r->weights + at;
    }
    if (r->spoilt) batches[1].ids = NULL;
    for (step = 0; step < 2 && !r->result; step++) {
        bool done = step == 0; /* the second step in slices */
        if (step == 0) r->result = hybrid_trainer_step(r->l.t, batches, &r->metrics[step], &r->error);
        while (!done && !r->result)
            r->result = hybrid_trainer_work(r->l.t, batches, 200, &done, &r->metrics[step], &r->error);
        r->sums[step] = slices_sum(r->l.t);
    }
    return NULL;
}

/* What is enough for one sequence at a time. */
static size_t ranks_room(const char *name)
{
    hybrid_runtime *rt = lesson_runtime(NULL, 1);
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_plan plan;
    hybrid_error e;
    d.model = lesson_model(rt, name, true);
    d.n_seq = 1;
    d.n_ctx = LESSON_T;
    CHECK(!hybrid_trainer_plan(&d, &plan, &e), "%s", e.message);
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(rt);
    return (size_t)plan.total;
}

/* Runs the ranks, each with a runtime of its own. */
static bool ranks_run(rank ranks[N_RANKS], meeting *m, const char *name, const int32_t *ids, const int32_t *targets,
                      const float *weights, int fail_at, int spoilt, bool in_parts)
{
    pthread_t threads[N_RANKS];
    hybrid_trainer_desc d = lesson_desc();
    int i;
    memset(ranks, 0, sizeof *ranks * N_RANKS);
    memset(m, 0, sizeof *m);
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->all_here, NULL);
    d.n_batches = 2;
    d.clip = 1;
    d.all_reduce = rank_reduce;
    if (in_parts) d.max_bytes = ranks_room(name);
    for (i = 0; i < N_RANKS; i++) {
        ranks[i].at = m;
        ranks[i].number = i;
        ranks[i].ids = ids;
        ranks[i].targets = targets;
        ranks[i].weights = weights;
        ranks[i].fail_at = fail_at;
        ranks[i].spoilt = i == spoilt;
        d.all_reduce_user = &ranks[i];
        if (!lesson_open(&ranks[i].l, name, NULL, 1, d)) return false;
    }
    for (i = 0; i < N_RANKS; i++) pthread_create(&threads[i], NULL, rank_run, &ranks[i]);
    for (i = 0; i < N_RANKS; i++) pthread_join(threads[i], NULL);
    pthread_cond_destroy(&m->all_here);
    pthread_mutex_destroy(&m->mutex);
    free(m->sum);
    return true;
}

static void ranks_close(rank ranks[N_RANKS])
{
    int i;
    for (i = 0; i < N_RANKS; i++) lesson_close(&ranks[i].l);
}

static void test_ranks(const char *name, bool in_parts)
{
    enum { ALL = 8 };
    static int32_t ids[ALL * LESSON_T], targets[ALL * LESSON_T];
    static float weights[ALL * LESSON_T];
    static rank ranks[N_RANKS];
    meeting m;
    lesson one;
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch batch = { ids, targets, weights, 0, 0 };
    hybrid_train_metrics metrics;
    hybrid_error e;
    size_t last = 0;
    int i;
    d.n_seq = ALL;
    d.clip = 1;
    if (!lesson_open(&one, name, NULL, 1, d)) return;
    for (i = 0; i < ALL * LESSON_T; i++) { /* ranks have other numbers of targets, and of weights */
        ids[i] = (one.ids[i % (2 * LESSON_T)] + i / LESSON_T) % one.m->hp.n_vocab;
        targets[i] = i / LESSON_T < 2 && i % 3 ? -1 : (one.targets[i % (2 * LESSON_T)] + 3) % one.m->hp.n_vocab;
        weights[i] = 1 + (float)(i % 5) * 0.3f;
    }
    if (!ranks_run(ranks, &m, name, ids, targets, weights, 0, -1, in_parts)) return;
    for (i = 0; i < 2; i++) {
        CHECK(!ranks[0].result && !ranks[1].result, "%s, %s", ranks[0].error.message, ranks[1].error.message);
        CHECK(!hybrid_trainer_step(one.t, &batch, &metrics, &e), "%s", e.message);
        CHECK(fabs(metrics.loss - ranks[0].metrics[i].loss) <= 1e-6, "step %d: loss %.9g, and %.9g of ranks", i,
              metrics.loss, ranks[0].metrics[i].loss);
        CHECK(ranks[0].metrics[i].loss == ranks[1].metrics[i].loss, "ranks with different losses");
        CHECK(ranks[0].metrics[i].noise_scale == ranks[1].metrics[i].noise_scale, "and with different noise");
        CHECK(fabs(metrics.grad_norm - ranks[0].metrics[i].grad_norm) <= 1e-6 * metrics.grad_norm, "norms %.9g, %.9g",
              metrics.grad_norm, ranks[0].metrics[i].grad_norm);
        CHECK(metrics.n_tokens == ranks[0].metrics[i].n_tokens, "%lld targets",
              (long long)ranks[0].metrics[i].n_tokens);
        CHECK(ranks[0].sums[i] == ranks[1].sums[i], "%s: ranks with other bits after step %d", name, i);
    }
    CHECK(ranks[0].l.t->shape.n_seq == (in_parts ? 1 : 2), "%d sequences at a time", ranks[0].l.t->shape.n_seq);
    CHECK(!memcmp(&ranks[0].l.t->noise, &ranks[1].l.t->noise, sizeof(hyb_noise)), "%s: other noise", name);
    CHECK(ranks[0].n_calls == 2 * (one.m->hp.n_layer + 3), "%d calls", ranks[0].n_calls);
    CHECK(ranks[0].inside == HYBRID_ERROR_INVALID, "a hook called its trainer");
    for (i = 0; i < one.m->hp.n_layer + 1; i++) last += ranks[0].counts[1 + i];
    CHECK(last == (size_t)one.t->store.n_values, "%ld gradients were added up", (long)last);
    CHECK(!memcmp(ranks[0].counts, ranks[1].counts, sizeof ranks[0].counts), "other counts");
    CHECK(ranks[0].counts[0] == HYBRID_REDUCE_NUMBERS, "numbers first");
    ranks_close(ranks);
    lesson_close(&one);
}

/* A hook that fails at any call, and a rank whose batch is refused: no rank has taken the step. */
static void test_ranks_fail(void)
{
    enum { ALL = 8 };
    static int32_t ids[ALL * LESSON_T], targets[ALL * LESSON_T];
    static float weights[ALL * LESSON_T];
    static rank ranks[N_RANKS];
    meeting m;
    int i, at;
    for (i = 0; i < ALL * LESSON_T; i++) {
        ids[i] = targets[i] = i % 90;
        weights[i] = 1;
    }
    for (at = 1; at <= 5; at += 2) {
        if (!ranks_run(ranks, &m, "llama-biases", ids, targets, weights, at, -1, false)) return;
        for (i = 0; i < N_RANKS; i++) {
            CHECK(ranks[i].result == HYBRID_ERROR_IO && strstr(ranks[i].error.message, "all_reduce"), "call %d: %s", at,
                  ranks[i].error.message);
            CHECK(ranks[i].sums[0] == ranks[i].before, "call %d: a step that failed changed weights", at);
        }
        ranks_close(ranks);
    }
    if (!ranks_run(ranks, &m, "llama-biases", ids, targets, weights, 0, 1, false)) return;
    CHECK(ranks[1].result == HYBRID_ERROR_INVALID && strstr(ranks[1].error.message, "no ids"), "%s",
          ranks[1].error.message);
    CHECK(ranks[0].result == HYBRID_ERROR_INVALID && strstr(ranks[0].error.message, "another rank"), "%s",
          ranks[0].error.message);
    CHECK(ranks[0].sums[0] == ranks[0].before && ranks[1].sums[0] == ranks[1].before, "weights");
    ranks_close(ranks);
}
#endif

/* A double as floats: exact, and sums of counts are. */
static void test_reduce_numbers(void)
{
    static const double values[] = { 0, 1, 12345678901.0, 1.0 / 3, 3e-9, 65535.0 * 65535, -2.5e20 };
    float pieces[HYB_REDUCE_PIECES], sums[HYB_REDUCE_PIECES] = { 0, 0, 0, 0, 0 };
    size_t i;
    int k;
    TEST("numbers that are sent");
    for (i = 0; i < sizeof values / sizeof *values; i++) {
        hyb_reduce_split(values[i], pieces);
        CHECK(hyb_reduce_join(pieces) == values[i], "%.17g became %.17g", values[i], hyb_reduce_join(pieces));
    }
    hyb_reduce_split(123456789.0, pieces);
    for (i = 0; i < 4096; i++)
        for (k = 0; k < HYB_REDUCE_PIECES; k++) sums[k] += pieces[k];
    CHECK(hyb_reduce_join(sums) == 4096 * 123456789.0, "a sum of counts is %.17g", hyb_reduce_join(sums));
    hyb_reduce_split((double)NAN, pieces);
    CHECK(!(hyb_reduce_join(pieces) < 0) && !(hyb_reduce_join(pieces) >= 0), "not a number became one");
    hyb_reduce_split((double)HUGE_VALF, pieces);
    CHECK(hyb_reduce_join(pieces) > 1e38, "infinity became %g", hyb_reduce_join(pieces));
}

static void test_in_slices(void)
{
    hybrid_trainer_desc d = lesson_desc();
    size_t i;
    for (i = 0; i < sizeof lesson_names / sizeof *lesson_names; i++) test_room(lesson_names[i], i % 4 ? 1 : 3);
    test_room_adapter("qwen2", NULL, 4);
    test_room_adapter("llama-biases", NULL, 4);
    test_room_adapter("rwkv7", NULL, 4);
    test_room_adapter("qwen2moe", NULL, 4);
    test_room_adapter("qwen2moe", "all", 4);
    test_room_adapter("mixtral", "all", 300);
    test_room_less();
    test_nosy();
    test_slices("gpt2", 0, d);
    test_slices("gpt2", 50000000, d);
    d.recompute_every = 1;
    d.n_batches = 2;
    test_slices("gemma3", 0, d);
    test_slices("qwen2-untied", 300, d);
    test_slices("qwen2moe", 0, d);
    test_slices("rwkv7", 0, d);
    test_slices_end();
    test_slices_context();
    test_reduce_numbers();
#ifdef RANKS
    test_ranks("gpt2", false);
    test_ranks("qwen3", true);
    test_ranks_fail();
#endif
}
#endif
