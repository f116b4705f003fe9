/* predict_killed: SIGKILL at random moments of all phases of a run with a predictor, which saves after every step. What
 * is found after each is a step of the run that nobody killed, bit for bit. Part of test_predictor. */
#if !defined(_WIN32)
    #include <signal.h>
    #include <sys/select.h>
    #include <sys/wait.h>
extern int kill(pid_t, int);

static const char killed_path[] = "build/predictor-killed.ckpt";

/* A net with a trainer and a predictor, as it begins or as the checkpoint has it. */
typedef struct killed {
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
} killed;

static bool killed_open(killed *k, hybrid_predict_mode mode)
{
    hybrid_error e;
    net_make(&k->m);
    k->t = net_trainer(&k->m);
    k->p = net_predictor(k->t, &k->m, mode);
    if (!k->t || !k->p) return false;
    if (access(killed_path, F_OK)) return true;
    CHECK(!hybrid_trainer_load(k->t, killed_path, &e), "%s", e.message);
    k->m.at = hybrid_trainer_steps(k->t);
    return k->m.at > 0;
}

static void killed_close(killed *k)
{
    hybrid_predictor_destroy(k->p);
    hybrid_trainer_destroy(k->t);
}

/* Trains and saves until it is killed; says after each save how many steps that holds. */
static void train_until_killed(hybrid_predict_mode mode, int say)
{
    killed k;
    hybrid_error e;
    int32_t n;
    if (!killed_open(&k, mode)) _exit(1);
    for (n = (int32_t)k.m.at; n < STEPS;) {
        if (net_step(k.t, &k.m, NULL, &e) || hybrid_trainer_save(k.t, killed_path, &e)) _exit(2);
        n = (int32_t)hybrid_trainer_steps(k.t);
        if (write(say, &n, sizeof n) != sizeof n) break;
    }
    for (;;) select(0, NULL, NULL, NULL, NULL); /* the run is over; it is killed all the same */
}

/* The run that nobody kills: the weights after each step, and the phase that it was in. */
static float killed_weights[STEPS + 1][VALUES];
static hybrid_phase killed_phase[STEPS + 1];

/* A child from where the checkpoint is, after whose step `last` it is killed some microseconds after it said that it
 * saved a step of this phase; phase < 0: that it saved any, or before it did. Returns the step it spoke of last, or
 * `last`; -1: it ended by itself. */
static int32_t kill_one(hybrid_predict_mode mode, int phase, int32_t microseconds, int32_t last)
{
    int ends[2], status = 0;
    int32_t got;
    struct timeval wait;
    pid_t child;
    fflush(stdout);
    if (pipe(ends) || (child = fork()) < 0) return -1;
    if (!child) train_until_killed(mode, ends[1]);
    close(ends[1]);
    while (phase >= 0 && last < STEPS && read(ends[0], &got, sizeof got) == sizeof got)
        if ((int)killed_phase[last = got] == phase) break;
    wait.tv_sec = 0;
    wait.tv_usec = microseconds;
    select(0, NULL, NULL, NULL, &wait);
    kill(child, SIGKILL);
    while (read(ends[0], &got, sizeof got) == sizeof got) last = got;
    close(ends[0]);
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) ? last : -1;
}

/* Killed after each phase in turn, which `phases` names; now and then wherever it is. */
static void test_kills(hybrid_predict_mode mode, const int *phases, int n)
{
    hybrid_predict_metrics metrics;
    uint32_t random = (uint32_t)time(NULL);
    int32_t last = 0;
    killed k;
    int i, n_of[4] = { 0 };
    TEST("SIGKILL in all phases");
    remove(killed_path);
    if (!killed_open(&k, mode)) return;
    while (k.m.at < STEPS) {
        net_run(k.t, &k.m, k.m.at + 1);
        hybrid_predictor_metrics(k.p, &metrics);
        memcpy(killed_weights[k.m.at], k.m.weights, sizeof killed_weights[0]);
        n_of[killed_phase[k.m.at] = metrics.phase]++;
    }
    killed_close(&k);
    for (i = 0; i < 4; i++) CHECK(n_of[phases[i]] > 0, "the run has no step of phase %d", phases[i]);
    for (i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        last = kill_one(mode, i % 5 ? phases[i * 4 / n] : -1, (int32_t)(random >> 8) % 3000, last);
        CHECK(last >= 0, "kill %d: it ended by itself", i);
        if (last <= 0 && access(killed_path, F_OK)) continue; /* killed before its first save */
        if (!killed_open(&k, mode)) break;
        CHECK(k.m.at >= last, "kill %d: the checkpoint has %d steps, but %d had been saved", i, (int)k.m.at, last);
        CHECK(!memcmp(k.m.weights, killed_weights[k.m.at], sizeof killed_weights[0]),
              "kill %d: not the weights of step %d", i, (int)k.m.at);
        if (i + 1 == n) net_run(k.t, &k.m, STEPS);
        if (i + 1 == n)
            CHECK(!memcmp(k.m.weights, killed_weights[STEPS], sizeof killed_weights[0]), "the end is another");
        last = (int32_t)k.m.at;
        killed_close(&k);
    }
    CHECK(i == n, "%d of %d kills", i, n);
    remove(killed_path);
}
#endif
