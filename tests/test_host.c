/* A host that is not alone: it forks, and its children use and end what they inherited. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

static const char story_model[] = "examples/data/stories260K-q8_0.gguf";
static const int32_t prompt[] = { 1, 403, 407, 261, 378, 432, 265, 268, 388, 426, 385, 328, 432, 363 };

typedef struct setup { hybrid_runtime *rt; hybrid_model *model; hybrid_context *ctx; } setup;

static bool setup_make(setup *s, const hybrid_runtime_desc *rd, hybrid_error *err)
{
    hybrid_model_desc md;
    hybrid_context_desc cd;
    memset(s, 0, sizeof *s);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = story_model;
    cd.n_ctx = 128;
    cd.n_seq = 2;
    return !hybrid_runtime_create(rd, &s->rt, err) && !hybrid_model_load(s->rt, &md, &s->model, err) &&
           !hybrid_context_create(s->model, &cd, &s->ctx, err);
}

static void setup_end(setup *s)
{
    hybrid_context_destroy(s->ctx);
    hybrid_model_destroy(s->model);
    hybrid_runtime_destroy(s->rt);
    memset(s, 0, sizeof *s);
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data;
    for (; n--; p++) h = (h ^ *p) * 0x100000001B3u;
    return h;
}

/* Of the logits of a prompt in sequence seq, which is emptied before; 0 when something failed. */
static uint64_t logits_hash(setup *s, int32_t seq)
{
    hybrid_model_info info;
    hybrid_error err;
    const float *v;
    hybrid_model_describe(s->model, &info);
    if (hybrid_seq_remove(s->ctx, seq, 0, &err) || hybrid_batch_add(s->ctx, seq, prompt, HYBRID__COUNT(prompt), &err) || hybrid_decode(s->ctx, &err)) return 0;
    v = hybrid_logits(s->ctx, seq);
    return v ? hash_bytes(0xCBF29CE484222325u, v, (size_t)info.n_vocab * sizeof *v) : 0;
}

/* ---- fork ---- */

typedef struct family { setup *s; uint64_t want; } family;

/* Forks; the child does its work and says 0 when all was well. */
static void in_child(const char *words, int (*work)(family *f), setup *s, uint64_t want)
{
    family f;
    int status = -1;
    pid_t child;
    f.s = s;
    f.want = want;
    fflush(NULL);
    if ((child = fork()) == 0) {
        alarm(60);
        _exit(work(&f));
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status), "%s: the child %s %d", words,
          WIFSIGNALED(status) ? "was killed by signal" : "said", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int child_ends(family *f)
{
    setup_end(f->s);
    return 0;
}
static int child_is_first(family *f)
{
    const uint64_t got = logits_hash(f->s, 0);
    setup_end(f->s);
    return !got;
}
static int child_decodes(family *f)
{
    const bool same = logits_hash(f->s, 0) == f->want && logits_hash(f->s, 1) == f->want;
    setup_end(f->s);
    return !same;
}
static int child_speaks(family *f)
{
    hybrid_session *chat = NULL;
    int n = 0;
    if (hybrid_session_create(f->s->model, NULL, &chat, NULL) || hybrid_session_complete(chat, "Once upon a time")) return 5;
    while (n < 8 && hybrid_session_next(chat)) n++;
    hybrid_session_destroy(chat);
    setup_end(f->s);
    return n != 8;
}
static int child_has_children(family *f)
{
    int status = 0, k;
    pid_t p;
    for (k = 0; k < 2; k++) {                                /* before it used its workers, and after */
        if (!(p = fork())) {
            alarm(60);
            _exit(child_decodes(f));
        }
        if (waitpid(p, &status, 0) != p || status) return 3;
        if (logits_hash(f->s, 0) != f->want) return 4;
    }
    setup_end(f->s);
    return 0;
}

static void fork_ends(const hybrid_runtime_desc *rd, const char *words)
{
    hybrid_error err;
    setup s;
    uint64_t want;
    int round;
    CHECK(setup_make(&s, rd, &err), "%s", err.message);
    in_child(words, child_ends, &s, 0);
    in_child(words, child_is_first, &s, 0);
    want = logits_hash(&s, 0);
    CHECK(want != 0, "logits");
    for (round = 0; round < 4; round++) {
        if (round & 1) usleep(20000);                        /* the workers sleep; else they spin */
        in_child(words, child_ends, &s, want);
        in_child(words, child_decodes, &s, want);
    }
    in_child(words, child_speaks, &s, want);
    in_child(words, child_has_children, &s, want);
    CHECK(logits_hash(&s, 0) == want, "the parent goes on");
    setup_end(&s);
}

#if defined(HYBRID__THREADS_POSIX)
typedef struct busy_thread { hybrid_runtime *rt; volatile uint64_t inside, leave; } busy_thread;
static void busy_chunk(void *arg, int chunk, int lane)
{
    busy_thread *b = (busy_thread *)arg;
    (void)chunk; (void)lane;
    hybrid__atomic_add(&b->inside, 1);
    while (!hybrid__atomic_load(&b->leave)) usleep(1000);
}
static void *busy_main(void *arg)
{
    hybrid__parallel(((busy_thread *)arg)->rt, 3, busy_chunk, arg);
    return NULL;
}

static int child_asks_for_a_gpu(family *f)
{
    hybrid__device *gpu;
    if (hybrid__runtime_gpu(f->s->rt, &gpu, NULL) || gpu) return 7;
    return child_decodes(f);
}

typedef struct child_thread { family *f; pthread_t id; uint64_t got; } child_thread;
static void *child_thread_main(void *arg)
{
    child_thread *t = (child_thread *)arg;
    setup mine = *t->f->s;
    hybrid_context_desc cd;
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 64;
    if (hybrid_context_create(mine.model, &cd, &mine.ctx, NULL)) return NULL;
    t->got = logits_hash(&mine, 0);
    hybrid_context_destroy(mine.ctx);
    return NULL;
}
static int child_has_threads(family *f)
{
    child_thread t[3];
    int i, wrong = 0;
    for (i = 0; i < 3; i++) {
        t[i].f = f;
        t[i].got = 0;
        if (pthread_create(&t[i].id, NULL, child_thread_main, &t[i])) return 6;
    }
    for (i = 0; i < 3; i++) {
        pthread_join(t[i].id, NULL);
        wrong |= t[i].got != f->want;
    }
    setup_end(f->s);
    return wrong;
}

/* The fork falls into a section of another thread, whose locks and workers the child never sees again. */
static void fork_in_section(const hybrid_runtime_desc *rd)
{
    hybrid_error err;
    pthread_t thread;
    busy_thread b;
    setup s;
    uint64_t want;
    memset((void *)&b, 0, sizeof b);
    CHECK(setup_make(&s, rd, &err), "%s", err.message);
    want = logits_hash(&s, 0);
    b.rt = s.rt;
    CHECK(!pthread_create(&thread, NULL, busy_main, &b), "a thread");
    while (hybrid__atomic_load(&b.inside) < 3) usleep(1000);
    hybrid__spin_take(&s.rt->gpu_lock);
    in_child("in a section", child_ends, &s, want);
    in_child("in a section", child_asks_for_a_gpu, &s, want);
    in_child("threads of the child", child_has_threads, &s, want);
    hybrid__spin_give(&s.rt->gpu_lock);
    hybrid__atomic_store(&b.leave, 1);
    pthread_join(thread, NULL);
    CHECK(logits_hash(&s, 1) == want, "the parent goes on");
    setup_end(&s);
}
#endif

static void host_for(void *user, int n, hybrid_task_fn fn, void *arg)
{
    int i;
    (void)user;
    for (i = 0; i < n; i++) fn(arg, i);
}

static void test_fork(void)
{
    hybrid_runtime_desc rd;
    TEST("fork");
    memset(&rd, 0, sizeof rd);
    rd.n_threads = 3;
    fork_ends(&rd, "own threads");
#if defined(HYBRID__THREADS_POSIX)
    fork_in_section(&rd);
#endif
    rd.parallel_for = host_for;
    fork_ends(&rd, "the host's threads");
    memset(&rd, 0, sizeof rd);
    rd.n_threads = 1;
    fork_ends(&rd, "one thread");
}

int main(void)
{
    test_fork();
    return test_end();
}
