/* A host that is not alone: it forks, and its children use and end what they inherited; its signals reach its own
 * threads; it rounds otherwise than C does, flushes subnormals and has exceptions trap, and neither its environment
 * nor our numbers notice. [aarch64] */
#include "private.h"
#include <signal.h>
#include <sys/wait.h>

static const char story_model[] = "examples/data/stories260K-q8_0.gguf";
static const int32_t prompt[] = { 1, 403, 407, 261, 378, 432, 265, 268, 388, 426, 385, 328, 432, 363 };

typedef struct setup {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *ctx;
} setup;

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
    if (hybrid_seq_remove(s->ctx, seq, 0, &err) || hybrid_batch_add(s->ctx, seq, prompt, HYB_COUNT(prompt), &err) ||
        hybrid_decode(s->ctx, &err))
        return 0;
    v = hybrid_logits(s->ctx, seq);
    return v ? hash_bytes(0xCBF29CE484222325u, v, (size_t)info.n_vocab * sizeof *v) : 0;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

typedef struct family {
    setup *s;
    uint64_t want;
} family;

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
    CHECK(child > 0, "%s: the child %s %d", words, WIFSIGNALED(status) ? "was killed by signal" : "said",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    CHECK(waitpid(child, &status, 0) == child, "%s: the child %s %d", words,
          WIFSIGNALED(status) ? "was killed by signal" : "said",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    CHECK(WIFEXITED(status), "%s: the child %s %d", words, WIFSIGNALED(status) ? "was killed by signal" : "said",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    CHECK(!WEXITSTATUS(status), "%s: the child %s %d", words, WIFSIGNALED(status) ? "was killed by signal" : "said",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
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
    if (hybrid_session_create(f->s->model, NULL, &chat, NULL) || hybrid_session_complete(chat, "Once upon a time"))
        return 5;
    while (n < 8 && hybrid_session_next(chat)) n++;
    hybrid_session_destroy(chat);
    setup_end(f->s);
    return n != 8;
}
static int child_has_children(family *f)
{
    int status = 0, k;
    pid_t p;
    for (k = 0; k < 2; k++) { /* before it used its workers, and after */
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
        if (round & 1) usleep(20000); /* the workers sleep; else they spin */
        in_child(words, child_ends, &s, want);
        in_child(words, child_decodes, &s, want);
    }
    in_child(words, child_speaks, &s, want);
    in_child(words, child_has_children, &s, want);
    CHECK(logits_hash(&s, 0) == want, "the parent goes on");
    setup_end(&s);
}

#if defined(HYB_THREADS_POSIX)
typedef struct busy_thread {
    hybrid_runtime *rt;
    volatile uint64_t inside, leave;
} busy_thread;
static void busy_chunk(void *arg, int chunk, int lane)
{
    busy_thread *b = (busy_thread *)arg;
    (void)chunk;
    (void)lane;
    hyb_atomic_add(&b->inside, 1);
    while (!hyb_atomic_load(&b->leave)) usleep(1000);
}
static void *busy_main(void *arg)
{
    hyb_parallel(((busy_thread *)arg)->rt, 3, busy_chunk, arg);
    return NULL;
}

static int child_asks_for_a_gpu(family *f)
{
    hyb_device *gpu;
    if (hyb_runtime_gpu(f->s->rt, &gpu, NULL) || gpu) return 7;
    return child_decodes(f);
}

typedef struct child_thread {
    family *f;
    pthread_t id;
    uint64_t got;
} child_thread;
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
    while (hyb_atomic_load(&b.inside) < 3) usleep(1000);
    hyb_spin_take(&s.rt->gpu_lock);
    in_child("in a section", child_ends, &s, want);
    in_child("in a section", child_asks_for_a_gpu, &s, want);
    in_child("threads of the child", child_has_threads, &s, want);
    hyb_spin_give(&s.rt->gpu_lock);
    hyb_atomic_store(&b.leave, 1);
    pthread_join(thread, NULL);
    CHECK(logits_hash(&s, 1) == want, "the parent goes on");
    setup_end(&s);
}
#endif

static void host_for(void *user, int32_t n, hybrid_task_fn fn, void *arg)
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
#if defined(HYB_THREADS_POSIX)
    fork_in_section(&rd);
#endif
    rd.parallel_for = host_for;
    fork_ends(&rd, "the host's threads");
    memset(&rd, 0, sizeof rd);
    rd.n_threads = 1;
    fork_ends(&rd, "one thread");
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

#if defined(HYB_THREADS_POSIX)
enum { LANES = 3 };
typedef struct mask_seen {
    volatile uint64_t inside;
    sigset_t of[LANES];
} mask_seen;

/* Waits until all lanes are here: each sees one chunk. */
static void mask_chunk(void *arg, int chunk, int lane)
{
    mask_seen *m = (mask_seen *)arg;
    (void)chunk;
    pthread_sigmask(SIG_SETMASK, NULL, &m->of[lane]);
    hyb_atomic_add(&m->inside, 1);
    while (hyb_atomic_load(&m->inside) < LANES) usleep(100);
}

static volatile sig_atomic_t n_caught, n_caught_elsewhere;
static pthread_t catcher;
static void catch_signal(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), catcher))
        n_caught++;
    else
        n_caught_elsewhere++;
}

static bool caught(int n)
{
    int i;
    for (i = 0; i < 2000 && n_caught + n_caught_elsewhere < n; i++) usleep(1000);
    return n_caught + n_caught_elsewhere == n;
}

/* Workers that compute and sleep leave what is sent to the process to the host's thread, and to its sigwait what it
 * blocks. */
static void signals_of_the_host(setup *s)
{
    struct sigaction act, old[2];
    sigset_t usr1, before;
    int number = 0, i;
    memset(&act, 0, sizeof act);
    act.sa_handler = catch_signal;
    sigemptyset(&act.sa_mask);
    catcher = pthread_self();
    sigaction(SIGUSR1, &act, &old[0]);
    sigaction(SIGALRM, &act, &old[1]);
    for (i = 1; i <= 20; i++) {
        CHECK(logits_hash(s, 0) != 0, "logits");
        if (i & 1) usleep(5000); /* the workers sleep */
        kill(getpid(), i % 3 ? SIGUSR1 : SIGALRM);
        CHECK(caught(i), "signal %d did not come", i);
    }
    CHECK(!n_caught_elsewhere, "%d signals ran the host's handler on a worker", (int)n_caught_elsewhere);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before); /* after the workers were made */
    kill(getpid(), SIGUSR1);
    CHECK(logits_hash(s, 0) != 0, "logits");
    usleep(5000);
    CHECK(n_caught + n_caught_elsewhere == 20, "a worker took what the host blocks");
    if (n_caught + n_caught_elsewhere == 20)
        CHECK(!sigwait(&usr1, &number) && number == SIGUSR1, "sigwait: %d", number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGUSR1, &old[0], NULL);
    sigaction(SIGALRM, &old[1], NULL);
}

static void test_signals(void)
{
    static const int foreign[] = { SIGUSR1, SIGALRM, SIGINT, SIGTERM, SIGCHLD, SIGHUP, SIGPIPE };
    static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
    hybrid_runtime_desc rd;
    hybrid_error err;
    sigset_t mine, before, after;
    mask_seen m;
    setup s;
    size_t i;
    int lane, number;
    TEST("signals");
    memset(&rd, 0, sizeof rd);
    rd.n_threads = LANES;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mine, &before);
    CHECK(setup_make(&s, &rd, &err), "%s", err.message);
    memset((void *)&m, 0, sizeof m);
    hyb_parallel(s.rt, LANES, mask_chunk, &m);
    pthread_sigmask(SIG_SETMASK, &before, &after);
    for (number = 1; number < 32; number++)
        CHECK(sigismember(&mine, number) == sigismember(&after, number),
              "signal %d: the mask of the thread that made the workers changed", number);
    for (lane = 1; lane < LANES; lane++) {
        for (i = 0; i < HYB_COUNT(foreign); i++)
            CHECK(sigismember(&m.of[lane], foreign[i]) == 1, "lane %d sees signal %d", lane, foreign[i]);
        for (i = 0; i < HYB_COUNT(own); i++)
            CHECK(!sigismember(&m.of[lane], own[i]), "lane %d blocks signal %d", lane, own[i]);
    }
    signals_of_the_host(&s);
    setup_end(&s);
}
#endif

/* ---- the floating-point environment ------------------------------------------------------------------------------ */

#if !defined(HYB_FP_NONE) && !defined(HYB_FP_FENV)

    /* The environment as hyb_fp_enter saves it, and a host's: rounding 0..3 in the processor's code; flush: subnormals
     * become zero; traps: all exceptions (where processors have traps); flags of exceptions that were raised earlier
     * stay up. */
    #if defined(HYB_FP_X86)
static hyb_fp fp_now(void)
{
    hyb_fp now;
    now.sse = hyb_sse_get();
    now.x87 = hyb_x87_get();
    now.x87_flags = hyb_x87_flags();
    return now;
}
static void fp_set(hyb_fp fp)
{
    hyb_sse_set(fp.sse);
    hyb_x87_restore(fp.x87, fp.x87_flags);
}
static hyb_fp fp_of(unsigned rounding, bool flush, bool traps)
{
    static const uint16_t precisions[4] = { 0x300, 0x000, 0x200, 0x300 }; /* of the x87: long double, float, double */
    hyb_fp fp;
    fp.sse = rounding << 13 | (flush ? 0x8040u : 0) | (traps ? 0 : 0x1F80u) | (traps ? 0 : rounding == 1 ? 0x21u : 0);
    fp.x87 = (uint16_t)(0x40 | precisions[rounding] | rounding << 10 | (traps ? 0 : 0x3F));
    fp.x87_flags = !traps && rounding == 2 ? 0x24 : 0;
    return fp;
}
static bool fp_same(hyb_fp a, hyb_fp b) { return a.sse == b.sse && a.x87 == b.x87 && a.x87_flags == b.x87_flags; }
static bool fp_is_plain(void) { return (hyb_sse_get() & ~0x3Fu) == 0x1F80 && (hyb_x87_get() & 0x0F3F) == 0x033F; }
    #elif defined(HYB_FP_MSVC_X86)
static hyb_fp fp_now(void)
{
    hyb_fp now;
    now.sse = _mm_getcsr();
    return now;
}
static void fp_set(hyb_fp fp) { _mm_setcsr(fp.sse); }
static hyb_fp fp_of(unsigned rounding, bool flush, bool traps)
{
    hyb_fp fp;
    fp.sse = rounding << 13 | (flush ? 0x8040u : 0) | (traps ? 0 : 0x1F80u);
    return fp;
}
static bool fp_same(hyb_fp a, hyb_fp b) { return a.sse == b.sse; }
static bool fp_is_plain(void) { return (_mm_getcsr() & ~0x3Fu) == 0x1F80; }
    #else
static hyb_fp fp_now(void)
{
    hyb_fp now;
    now.control = hyb_fp_control();
    now.flags = hyb_fp_flags();
    return now;
}
static void fp_set(hyb_fp fp)
{
    hyb_fp_set_flags(fp.flags);
    hyb_fp_set_control(fp.control);
}
static hyb_fp fp_of(unsigned rounding, bool flush, bool traps)
{
    hyb_fp fp = fp_now();
        #if defined(HYB_FP_RISCV)
    fp.control = rounding;
    (void)flush;
        #else
    fp.control = (uint64_t)rounding << 22 | (uint64_t)flush << 24;
        #endif
    fp.flags = rounding == 1 ? 1 : 0;
    (void)traps; /* few of these processors have any */
    return fp;
}
static bool fp_same(hyb_fp a, hyb_fp b) { return a.control == b.control && a.flags == b.flags; }
static bool fp_is_plain(void) { return hyb_fp_control() == 0; }
    #endif

/* What the numbers of a host look like. */
typedef struct witness {
    uint64_t logits, tokens, text, blocks, numbers, file;
    /* calls that returned with another environment; calls that went otherwise than they should */
    int calls, changed, refused;
} witness;

    /* Calls something, and sees whether the environment is as before. */
    #define KEEPS(call) \
        do { \
            const hyb_fp before_ = fp_now(); \
            call; \
            w->calls++; \
            w->changed += !fp_same(before_, fp_now()); \
        } while (0)
    #define KEEPS_OK(call) \
        do { \
            hybrid_result r_ = HYBRID_OK; \
            KEEPS(r_ = (call)); \
            w->refused += r_ != HYBRID_OK; \
        } while (0)

enum { VALUES = 4 * 256 };
static float fp_values[VALUES]; /* of many sizes, subnormal ones among them */

static void fp_values_make(void)
{
    int i;
    for (i = 0; i < VALUES; i++) {
        const uint32_t r = (uint32_t)(hyb_random_uniform(3, 4, (uint64_t)i) * 4294967296.0),
                       exponent = i < 256   ? r >> 28
                                  : i < 512 ? 88
                                            : 120 + (r >> 29);
        fp_values[i] = hyb_bits_f32((r & 0x80000000u) | exponent << 23 | (r * 2654435761u) >> 9);
    }
}

static void witness_blocks(hybrid_runtime *rt, witness *w)
{
    static unsigned char blocks[VALUES * 4];
    static float back[VALUES];
    hybrid_result r = HYBRID_OK;
    int type;
    for (type = 0; type < 64; type++) {
        const size_t bytes = hybrid_type_row_bytes((hybrid_type)type, VALUES);
        if (!bytes || bytes > sizeof blocks) continue;
        memset(blocks, 0, sizeof blocks);
        KEEPS(r = hybrid_quantize((hybrid_type)type, fp_values, blocks, VALUES, NULL, NULL));
        if (r) continue; /* integers, and what is only read */
        w->blocks = hash_bytes(w->blocks, blocks, bytes);
        KEEPS_OK(hybrid_dequantize((hybrid_type)type, blocks, back, VALUES, NULL));
        w->blocks = hash_bytes(w->blocks, back, sizeof back);
        KEEPS_OK(hybrid_convert(rt, HYBRID_TYPE_F32, fp_values, (hybrid_type)type, blocks, 4, VALUES / 4, NULL, NULL));
        w->blocks = hash_bytes(w->blocks, blocks, bytes);
    }
}

    #ifndef HYBRID_NO_TEXT
static void witness_text(hybrid_runtime *rt, witness *w)
{
    static const char text[] =
        "{{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 7 // 0.3 }} {{ 2 ** 0.5 }} {{ x }} {{ x * 3 }} {{ (2.675) | round(2) }} {{ "
        "'%.3f' % 0.0005 }} "
        "{{ '%.20g' % 0.1 }} {{ 1e-310 + 0 }} {{ tiny }} {{ 9007199254740993 * 1.0 }} {{ 5e-324 | tojson }}";
    hybrid_template_desc td;
    hybrid_render_desc rd;
    hybrid_template *t = NULL;
    hybrid_error err;
    hybrid_text out;
    hybrid_result r = HYBRID_OK;
    memset(&td, 0, sizeof td);
    memset(&rd, 0, sizeof rd);
    memset(&out, 0, sizeof out);
    td.text = text;
    KEEPS_OK(hybrid_template_create(rt, &td, &t, NULL));
    rd.context = "{\"x\": 0.30000000000000004441, \"tiny\": 2.2250738585072011e-308, \"y\": 1e23}";
    KEEPS_OK(hybrid_template_render(t, &rd, &out, NULL));
    if (out.data) w->text = hash_bytes(w->text, out.data, out.size);
    KEEPS(hybrid_text_free(&out));
    rd.context = "{\"x\": 1e,}"; /* and what is refused */
    KEEPS(r = hybrid_template_render(t, &rd, &out, &err));
    w->refused += r == HYBRID_OK;
    KEEPS(hybrid_template_destroy(t));
}
    #endif

static bool witness_write(void *user, const void *data, size_t n)
{
    witness *w = (witness *)user;
    w->file = hash_bytes(w->file, data, n);
    return true;
}

static void witness_file(hybrid_runtime *rt, const hybrid_model *model, witness *w)
{
    hybrid_gguf_writer *writer = NULL;
    hybrid_gguf_value value;
    double number = 0;
    KEEPS_OK(hybrid_gguf_writer_create(rt, &writer, NULL));
    KEEPS_OK(hybrid_gguf_set_float(writer, "a.float", HYBRID_GGUF_F32, 0.1, NULL));
    KEEPS_OK(hybrid_gguf_set_float(writer, "a.double", HYBRID_GGUF_F64, 0.1, NULL));
    KEEPS_OK(hybrid_gguf_begin(writer, witness_write, w, NULL));
    KEEPS_OK(hybrid_gguf_end(writer, NULL));
    KEEPS(hybrid_gguf_writer_destroy(writer));
    KEEPS(w->refused +=
          !hybrid_gguf_get_f64(hybrid_model_gguf(model), "llama.attention.layer_norm_rms_epsilon", &number));
    w->numbers = hash_bytes(w->numbers, &number, sizeof number);
    memset(&value, 0, sizeof value);
    {
        static const uint64_t large = 0x20000000000001FFu; /* no double: it rounds */
        value.type = HYBRID_GGUF_ARRAY;
        value.item_type = HYBRID_GGUF_U64;
        value.data = &large;
        value.count = 1;
        value.size = 8;
        KEEPS(number = hybrid_gguf_item_f64(&value, 0));
        w->numbers = hash_bytes(w->numbers, &number, sizeof number);
    }
}

static void witness_tokens(setup *s, witness *w)
{
    hybrid_sampler_desc sd;
    hybrid_sampler *sampler = NULL;
    hybrid_model_info info;
    const float *v = NULL;
    int32_t id = 0;
    int i;
    memset(&sd, 0, sizeof sd);
    sd.temperature = 0.9f;
    sd.top_p = 0.95f;
    sd.min_p = 0.01f;
    sd.typical_p = 0.98f;
    sd.repetition_penalty = 1.1f;
    sd.frequency_penalty = 0.1f;
    KEEPS(hybrid_model_describe(s->model, &info));
    KEEPS_OK(hybrid_sampler_create(s->rt, &sd, &sampler, NULL));
    KEEPS_OK(hybrid_batch_add(s->ctx, 0, prompt, HYB_COUNT(prompt), NULL));
    for (i = 0; i < 24; i++) {
        KEEPS_OK(hybrid_decode(s->ctx, NULL));
        KEEPS(v = hybrid_logits(s->ctx, 0));
        if (!v) {
            w->refused++;
            break;
        }
        w->logits = hash_bytes(w->logits, v, (size_t)info.n_vocab * sizeof *v);
        KEEPS(id = hybrid_sample(sampler, v, info.n_vocab));
        w->tokens = hash_bytes(w->tokens, &id, sizeof id);
        KEEPS(hybrid_sampler_accept(sampler, id));
        KEEPS_OK(hybrid_batch_add(s->ctx, 0, &id, 1, NULL));
    }
    KEEPS(hybrid_sampler_destroy(sampler));
    id = 1 << 30;
    KEEPS(w->refused += hybrid_batch_add(s->ctx, 0, &id, 1, NULL) == HYBRID_OK);
}

static witness witness_of(const hybrid_runtime_desc *rd, hybrid_trace_fn trace)
{
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_memory_plan plan;
    witness it, *w = &it;
    setup s;
    memset(&it, 0, sizeof it);
    memset(&s, 0, sizeof s);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = story_model;
    cd.n_ctx = 128;
    cd.trace = trace;
    KEEPS_OK(hybrid_runtime_create(rd, &s.rt, NULL));
    KEEPS_OK(hybrid_plan(s.rt, &md, &cd, &plan, NULL));
    KEEPS_OK(hybrid_model_load(s.rt, &md, &s.model, NULL));
    KEEPS_OK(hybrid_context_create(s.model, &cd, &s.ctx, NULL));
    if (!it.refused) {
        witness_tokens(&s, w);
        witness_blocks(s.rt, w);
        witness_file(s.rt, s.model, w);
    #ifndef HYBRID_NO_TEXT
        witness_text(s.rt, w);
    #endif
    }
    KEEPS(hybrid_context_destroy(s.ctx));
    KEEPS(hybrid_model_destroy(s.model));
    KEEPS(hybrid_runtime_destroy(s.rt));
    return it;
}

static void witness_same(const witness *a, const witness *b, const char *who, unsigned rounding, int flush, int traps)
{
    CHECK(a->logits == b->logits, "%s, rounding %u, flush %d, traps %d: other logits", who, rounding, flush, traps);
    CHECK(a->tokens == b->tokens, "%s, rounding %u, flush %d, traps %d: other tokens", who, rounding, flush, traps);
    CHECK(a->text == b->text, "%s, rounding %u, flush %d, traps %d: other text", who, rounding, flush, traps);
    CHECK(a->blocks == b->blocks, "%s, rounding %u, flush %d, traps %d: other blocks", who, rounding, flush, traps);
    CHECK(a->numbers == b->numbers && a->file == b->file, "%s, rounding %u, flush %d, traps %d: other numbers", who,
          rounding, flush, traps);
    CHECK(!a->refused && a->calls == b->calls, "%s, rounding %u, flush %d, traps %d: %d of %d calls went wrong", who,
          rounding, flush, traps, a->refused, a->calls);
    CHECK(!a->changed, "%s, rounding %u, flush %d, traps %d: %d of %d calls changed the environment", who, rounding,
          flush, traps, a->changed, a->calls);
}

/* The host's own threads have environments of their own. */
typedef struct host_piece {
    hybrid_task_fn fn;
    void *arg;
    int index;
    int changed;
} host_piece;
static void *host_piece_main(void *arg)
{
    host_piece *p = (host_piece *)arg;
    const hyb_fp mine = fp_of((unsigned)p->index & 3, true, false);
    fp_set(mine);
    p->fn(p->arg, p->index);
    p->changed = !fp_same(fp_now(), mine);
    return NULL;
}
static int host_pieces_changed;
static void host_for_strange(void *user, int32_t n, hybrid_task_fn fn, void *arg)
{
    host_piece piece[8];
    pthread_t thread[8];
    int i;
    (void)user;
    for (i = 0; i < n; i++) {
        piece[i].fn = fn;
        piece[i].arg = arg;
        piece[i].index = i;
        piece[i].changed = 0;
        if (i + 1 == n || pthread_create(&thread[i], NULL, host_piece_main, &piece[i])) {
            host_piece_main(&piece[i]); /* the last one here: this thread comes back in another environment */
            thread[i] = pthread_self();
        }
    }
    for (i = 0; i < n; i++) {
        if (!pthread_equal(thread[i], pthread_self())) pthread_join(thread[i], NULL);
        host_pieces_changed += piece[i].changed;
    }
}

/* Callbacks find a plain environment, and leave one that is not. */
static int callbacks, callbacks_not_plain;
static void strange_callback(void)
{
    callbacks++;
    callbacks_not_plain += !fp_is_plain();
    fp_set(fp_of((unsigned)callbacks & 3, true, false));
}
static void *strange_alloc(void *user, size_t size)
{
    void *block = malloc(size);
    (void)user;
    strange_callback();
    return block;
}
static void strange_free(void *user, void *block)
{
    (void)user;
    free(block);
    strange_callback();
}
static void strange_log(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
    strange_callback();
}
static void strange_trace(void *user, const char *name, int32_t layer, const float *data, int64_t rows, int64_t cols,
                          int64_t stride)
{
    (void)user;
    (void)name;
    (void)layer;
    (void)data;
    (void)rows;
    (void)cols;
    (void)stride;
    strange_callback();
}

static void test_environment(void)
{
    const hyb_fp plain = fp_now();
    hybrid_runtime_desc rd[3];
    witness want, got;
    unsigned rounding;
    int flush, traps;
    TEST("floating-point environment");
    fp_values_make();
    memset(rd, 0, sizeof rd);
    rd[0].n_threads = 1;
    rd[1].n_threads = 3;
    rd[2].n_threads = 4;
    rd[2].parallel_for = host_for_strange;
    want = witness_of(&rd[0], NULL);
    witness_same(&want, &want, "plain", 0, 0, 0);
    CHECK(want.logits && want.tokens && want.text && want.blocks && want.numbers && want.file && want.calls > 100,
          "%d calls", want.calls);
    for (rounding = 0; rounding < 4; rounding++)
        for (flush = 0; flush < 2; flush++)
            for (traps = 0; traps < 2; traps++) {
                const int who = (int)(rounding + (unsigned)flush + (unsigned)traps) & 1;
                fp_set(fp_of(rounding, flush != 0, traps != 0));
                got = witness_of(&rd[who], NULL);
                fp_set(plain);
                witness_same(&got, &want, who ? "3 threads" : "1 thread", rounding, flush, traps);
            }
    fp_set(fp_of(2, true, true));
    got = witness_of(&rd[2], NULL);
    fp_set(plain);
    witness_same(&got, &want, "the host's threads", 2, 1, 1);
    CHECK(!host_pieces_changed, "%d of the host's threads were changed", host_pieces_changed);
    rd[0].allocator.alloc = strange_alloc;
    rd[0].allocator.free = strange_free;
    rd[0].logger.log = strange_log;
    fp_set(fp_of(1, false, true));
    got = witness_of(&rd[0], strange_trace);
    fp_set(plain);
    witness_same(&got, &want, "strange callbacks", 1, 0, 1);
    CHECK(callbacks > 100 && !callbacks_not_plain, "%d of %d callbacks found another environment", callbacks_not_plain,
          callbacks);
}
#endif

int main(void)
{
    const char *slow = getenv("HYBRID_SANITIZER");
    /* qemu itself ends where a child of several threads starts one */
    if (!slow || strcmp(slow, "emulator")) test_fork();
#if defined(HYB_THREADS_POSIX)
    test_signals();
#endif
#if !defined(HYB_FP_NONE) && !defined(HYB_FP_FENV)
    test_environment();
#endif
    return test_end();
}
