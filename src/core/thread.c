/* core/thread: atomics, threads, and the worker pool.
 *
 * The pool runs one section at a time: n chunks, taken by whoever is free. A section is finished when its chunks are
 * done, not when the workers have said so: a worker that wakes late finds nothing and costs nothing, and a worker that
 * lost its core delays the others by one chunk at most. Workers spin for about a millisecond after a section, then
 * sleep. */
#ifndef HYB_CORE_THREAD_C
#define HYB_CORE_THREAD_C
#include "../api/runtime.h"
#include "fpenv.c"

#if defined(_MSC_VER) && !defined(__clang__)
HYB_INLINE uint64_t hyb_atomic_load(volatile uint64_t *p)
{
    return (uint64_t)_InterlockedOr64((volatile long long *)p, 0);
}
HYB_INLINE void hyb_atomic_store(volatile uint64_t *p, uint64_t v)
{
    _InterlockedExchange64((volatile long long *)p, (long long)v);
}
HYB_INLINE uint64_t hyb_atomic_add(volatile uint64_t *p, uint64_t v)
{
    return (uint64_t)_InterlockedExchangeAdd64((volatile long long *)p, (long long)v);
}
HYB_INLINE bool hyb_atomic_cas(volatile uint64_t *p, uint64_t *expected, uint64_t v)
{
    uint64_t old = (uint64_t)_InterlockedCompareExchange64((volatile long long *)p, (long long)v, (long long)*expected);
    bool ok = old == *expected;
    *expected = old;
    return ok;
}
HYB_INLINE void hyb_pause(void) { YieldProcessor(); }
#else
HYB_INLINE uint64_t hyb_atomic_load(volatile uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
HYB_INLINE void hyb_atomic_store(volatile uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
HYB_INLINE uint64_t hyb_atomic_add(volatile uint64_t *p, uint64_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
HYB_INLINE bool hyb_atomic_cas(volatile uint64_t *p, uint64_t *expected, uint64_t v)
{
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
HYB_INLINE void hyb_pause(void)
{
    #if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
    #elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
    #endif
}
#endif

/* Gives the core to another thread. */
static void hyb_yield(void)
{
#if defined(HYB_THREADS_WIN32)
    SwitchToThread();
#elif defined(HYB_THREADS_POSIX)
    sched_yield();
#endif
}

/* A fraction of a millisecond, or the least that the system knows. */
static void hyb_nap(void)
{
#if defined(HYB_THREADS_WIN32)
    Sleep(1);
#elif defined(HYB_THREADS_POSIX)
    struct timeval t; /* nanosleep is hidden by -std=c99 */
    t.tv_sec = 0;
    t.tv_usec = 200;
    select(0, NULL, NULL, NULL, &t);
#endif
}

/* Which process this is. A forked child has a copy of all objects and none of their threads: an object that keeps this
 * number can tell. */
static uint64_t hyb_process(void)
{
#if defined(_WIN32)
    return 1; /* no fork */
#else
    return (uint64_t)getpid();
#endif
}

/* in_use of an object: 0, or the process of the thread whose call is under way. A call that another thread was making
 * when this process was forked never ends here: it keeps nobody out. */
static bool hyb_busy(uint64_t in_use) { return in_use && in_use == hyb_process(); }

/* A lock for short or rare work: 0, or the process of the thread that holds it. Never call the host's code while
 * holding one: that code could wait for a thread that waits for the lock. A lock of another process was held by one of
 * its threads when this process was forked; that thread is not here, so the lock is free. */
typedef volatile uint64_t hyb_spin;
static void hyb_spin_take(hyb_spin *lock)
{
    const uint64_t here = hyb_process();
    uint64_t open = 0;
    int spins = 0;
    while (!hyb_atomic_cas(lock, &open, here)) {
        if (open && open != here) continue; /* try again, from the value that it holds now */
        open = 0;
        if (++spins < 1000)
            hyb_pause();
        else if (spins < 1100)
            hyb_yield();
        else
            hyb_nap(); /* the holder may be compiling kernels, for seconds */
    }
}
static void hyb_spin_give(hyb_spin *lock) { hyb_atomic_store(lock, 0); }

/* Nanoseconds of a clock that does not go back. */
static uint64_t hyb_now_ns(void)
{
#if defined(_WIN32)
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (uint64_t)(now.QuadPart / rate.QuadPart) * 1000000000u +
           (uint64_t)(now.QuadPart % rate.QuadPart) * 1000000000u / (uint64_t)rate.QuadPart;
#else
    #if defined(CLOCK_MONOTONIC)
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    #else /* -std=c99 hides the better clock */
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
    #endif
#endif
}
static uint64_t hyb_now_us(void) { return hyb_now_ns() / 1000u; }

static int hyb_cpu_count(void)
{
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return (int)info.dwNumberOfProcessors;
#elif defined(_SC_NPROCESSORS_ONLN)
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
#else
    return 1;
#endif
}

enum { HYB_MAX_THREADS = 256, HYB_MAX_CHUNKS = 65535, HYB_SPIN_US = 1000 };

/* fn(arg, chunk, lane): lane is below hyb_pool_lanes() and no two chunks run on one lane at a time, so scratch
 * memory can be per lane. */
typedef void (*hyb_chunk_fn)(void *arg, int chunk, int lane);

typedef struct hyb_pool hyb_pool;
typedef struct hyb_worker {
    hyb_pool *pool;
    int lane;
#if defined(HYB_THREADS_POSIX)
    pthread_t thread;
#elif defined(HYB_THREADS_WIN32)
    HANDLE thread;
#endif
} hyb_worker;

struct hyb_pool {
    int n_lanes; /* caller included */
    void (*host_for)(void *user, int32_t n, hybrid_task_fn fn, void *arg);
    void *host_user;
    /* section number << 32 | chunks << 16 | next chunk: one word, so that a chunk is taken at once */
    volatile uint64_t ticket;
    volatile uint64_t done; /* chunks finished in this section */
    /* the process that the workers live in; HYB_ADOPTING is set while a child makes the pool its own */
    volatile uint64_t owner;
    volatile uint64_t busy; /* a section is running: others compute alone */
    volatile uint64_t sleepers;
    volatile uint64_t stop;
    hyb_chunk_fn fn; /* of the section; only a thread that has one of its chunks reads them */
    void *arg;
    bool started;  /* written by the thread that holds busy */
    int n_workers; /* those that could be started: at most n_lanes - 1 */
    hyb_worker *workers;
#if defined(HYB_THREADS_POSIX)
    pthread_mutex_t mutex;
    pthread_cond_t wake;
#elif defined(HYB_THREADS_WIN32)
    SRWLOCK mutex;
    CONDITION_VARIABLE wake;
#endif
};

/* Takes chunks of the current section until there are none. */
static void hyb_pool_work(hyb_pool *pool, int lane)
{
    uint64_t ticket = hyb_atomic_load(&pool->ticket);
    for (;;) {
        uint32_t next = (uint32_t)(ticket & 0xFFFF), n = (uint32_t)(ticket >> 16) & 0xFFFF;
        if (next >= n) return;
        if (!hyb_atomic_cas(&pool->ticket, &ticket, ticket + 1)) continue;
        pool->fn(pool->arg, (int)next, lane); /* fn and arg stand: the section cannot end before this chunk */
        hyb_atomic_add(&pool->done, 1);
        ticket = hyb_atomic_load(&pool->ticket);
    }
}

/* Locks and counters of a pool without workers. */
static void hyb_pool_clear(hyb_pool *pool)
{
#if defined(HYB_THREADS_POSIX)
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
#elif defined(HYB_THREADS_WIN32)
    InitializeSRWLock(&pool->mutex);
    InitializeConditionVariable(&pool->wake);
#endif
    pool->n_workers = 0;
    pool->started = false;
    hyb_atomic_store(&pool->ticket, 0);
    hyb_atomic_store(&pool->done, 0);
    hyb_atomic_store(&pool->sleepers, 0);
    hyb_atomic_store(&pool->stop, 0);
    hyb_atomic_store(&pool->busy, 0);
}

/* In a forked child the workers do not exist, a section of another thread will never end, and a lock of a worker will
 * never be given: the first thread to use the pool there begins it anew. */
#define HYB_ADOPTING ((uint64_t)1 << 63)
static void hyb_pool_adopt(hyb_pool *pool)
{
    const uint64_t here = hyb_process();
    uint64_t owner = hyb_atomic_load(&pool->owner);
    while (owner != here) {
        if (owner == (here | HYB_ADOPTING)) { /* another thread is doing it */
            hyb_yield();
            owner = hyb_atomic_load(&pool->owner);
        } else if (hyb_atomic_cas(&pool->owner, &owner, here | HYB_ADOPTING)) {
            hyb_pool_clear(pool);
            hyb_atomic_store(&pool->owner, here);
            return;
        }
    }
}

static void hyb_pool_init(hyb_pool *pool)
{
    hyb_pool_clear(pool);
    hyb_atomic_store(&pool->owner, hyb_process());
}

#if defined(HYB_THREADS_POSIX) || defined(HYB_THREADS_WIN32)
static void hyb_pool_lock(hyb_pool *pool)
{
    #if defined(HYB_THREADS_POSIX)
    pthread_mutex_lock(&pool->mutex);
    #else
    AcquireSRWLockExclusive(&pool->mutex);
    #endif
}
static void hyb_pool_unlock(hyb_pool *pool)
{
    #if defined(HYB_THREADS_POSIX)
    pthread_mutex_unlock(&pool->mutex);
    #else
    ReleaseSRWLockExclusive(&pool->mutex);
    #endif
}
static void hyb_pool_wake(hyb_pool *pool)
{
    hyb_pool_lock(pool);
    #if defined(HYB_THREADS_POSIX)
    pthread_cond_broadcast(&pool->wake);
    #else
    WakeAllConditionVariable(&pool->wake);
    #endif
    hyb_pool_unlock(pool);
}

static void hyb_worker_main(hyb_worker *worker)
{
    hyb_pool *pool = worker->pool;
    uint64_t seen = 0;
    hyb_fp_plain(); /* a thread begins with the environment of the thread that made it */
    for (;;) {
        uint64_t since = hyb_now_us(), spins = 0;
        while (hyb_atomic_load(&pool->ticket) >> 32 == seen) {
            if (hyb_atomic_load(&pool->stop)) return;
            hyb_pause();
            if (++spins % 64 == 0 && hyb_now_us() - since > HYB_SPIN_US) {
                hyb_pool_lock(pool);
                hyb_atomic_add(&pool->sleepers, 1);
                while (hyb_atomic_load(&pool->ticket) >> 32 == seen && !hyb_atomic_load(&pool->stop)) {
    #if defined(HYB_THREADS_POSIX)
                    pthread_cond_wait(&pool->wake, &pool->mutex);
    #else
                    SleepConditionVariableSRW(&pool->wake, &pool->mutex, INFINITE, 0);
    #endif
                }
                hyb_atomic_add(&pool->sleepers, (uint64_t)-1);
                hyb_pool_unlock(pool);
                since = hyb_now_us();
            }
        }
        seen = hyb_atomic_load(&pool->ticket) >> 32;
        hyb_pool_work(pool, worker->lane);
    }
}

/* A worker needs 64 KB at most; some systems give a thread little more, and the compilers' sanitizers blow up frames.
 * What the system gives beyond this stays. */
enum { HYB_WORKER_STACK = 1024 * 1024 };

    #if defined(HYB_THREADS_POSIX)
static void *hyb_worker_entry(void *arg)
{
    hyb_worker_main((hyb_worker *)arg);
    return NULL;
}

        /* The host's signals belong to its own threads: a handler may rely on what its thread is, and a signal that the
         * host blocks everywhere, to wait for it, must not end the process in a thread that the host does not know of.
         * A worker begins with the mask of the thread that makes it: that thread blocks all but what a thread's own
         * fault raises, and has its mask back afterwards. */
        #if defined(SIG_SETMASK) && !defined(__EMSCRIPTEN__)
            #define HYB_SIGNALS SIG_SETMASK
        #elif defined(__linux__) && defined(__STRICT_ANSI__) && !defined(__cplusplus) && !defined(__mips__) && \
            !defined(__alpha__) && !defined(__sparc__)
            #define HYB_SIGNALS 2 /* -std=c99 hides them, though not sigset_t */
            #define HYB_SIGNALS_HIDDEN
        #endif
        #if defined(HYB_SIGNALS)
static bool hyb_signals_set(const sigset_t *now, sigset_t *before)
{
            #if defined(HYB_SIGNALS_HIDDEN)
    int pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
            #endif
    return !pthread_sigmask(HYB_SIGNALS, now, before);
}

static bool hyb_signals_block(sigset_t *before)
{
            #if defined(HYB_SIGNALS_HIDDEN)
    int sigfillset(sigset_t * set);
    int sigdelset(sigset_t * set, int number);
            #endif
    static const int own[] = {
        SIGSEGV,
        SIGFPE,
        SIGILL,
        SIGABRT,
            #if defined(SIGBUS)
        SIGBUS,
            #endif
            #if defined(SIGTRAP)
        SIGTRAP,
            #endif
            #if defined(SIGSYS)
        SIGSYS,
            #endif
    };
    sigset_t all;
    size_t i;
    sigfillset(&all);
    for (i = 0; i < HYB_COUNT(own); i++) sigdelset(&all, own[i]);
    return hyb_signals_set(&all, before);
}
        #endif

/* Starts the workers of lanes 1.. until one cannot be started. */
static void hyb_workers_start(hyb_pool *pool)
{
    pthread_attr_t attr, *with = NULL;
    size_t stack = 0;
        #if defined(HYB_SIGNALS)
    sigset_t before;
    const bool blocked = hyb_signals_block(&before);
        #endif
    if (!pthread_attr_init(&attr)) {
        with = &attr;
        if (!pthread_attr_getstacksize(&attr, &stack) && stack < HYB_WORKER_STACK)
            pthread_attr_setstacksize(&attr, HYB_WORKER_STACK);
    }
    while (pool->n_workers + 1 < pool->n_lanes) {
        hyb_worker *w = &pool->workers[pool->n_workers];
        if (pthread_create(&w->thread, with, hyb_worker_entry, w)) break;
        pool->n_workers++;
    }
    if (with) pthread_attr_destroy(with);
        #if defined(HYB_SIGNALS)
    if (blocked) hyb_signals_set(&before, NULL);
        #endif
}
    #else
static DWORD WINAPI hyb_worker_entry(LPVOID arg)
{
    hyb_worker_main((hyb_worker *)arg);
    return 0;
}

static void hyb_workers_start(hyb_pool *pool)
{
    while (pool->n_workers + 1 < pool->n_lanes) {
        hyb_worker *w = &pool->workers[pool->n_workers];
        w->thread = CreateThread(NULL, HYB_WORKER_STACK, hyb_worker_entry, w,
                                 0x00010000 /* that much is reserved, not used */, NULL);
        if (!w->thread) break;
        pool->n_workers++;
    }
}
    #endif

/* Starts the workers at the first section. One that cannot be started leaves a smaller pool: its lane stays empty. */
static void hyb_pool_start(hyb_pool *pool)
{
    int i;
    for (i = 0; i + 1 < pool->n_lanes; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].lane = i + 1;
    }
    pool->started = true;
    hyb_workers_start(pool);
}
#endif

typedef struct hyb_host_section {
    hyb_chunk_fn fn;
    void *arg;
    volatile uint64_t next;
    int n;
} hyb_host_section;
static void hyb_host_lane(void *arg, int32_t lane)
{
    const hyb_fp host = hyb_fp_enter(); /* this is one of the host's threads */
    hyb_host_section *s = (hyb_host_section *)arg;
    uint64_t chunk;
    while ((chunk = hyb_atomic_add(&s->next, 1)) < (uint64_t)s->n) s->fn(s->arg, (int)chunk, lane);
    hyb_fp_leave(host);
}

/* Runs fn for chunks 0..n-1 and returns when all are done. */
static void hyb_pool_run(hyb_pool *pool, int n, hyb_chunk_fn fn, void *arg)
{
    uint64_t idle = 0;
    int i, lanes = pool->n_lanes;
    if (n > 1 && lanes > 1) hyb_pool_adopt(pool);
    if (n > 1 && lanes > 1 && n <= HYB_MAX_CHUNKS && hyb_atomic_cas(&pool->busy, &idle, 1)) {
        if (pool->host_for) {
            hyb_host_section section;
            section.fn = fn;
            section.arg = arg;
            section.next = 0;
            section.n = n;
            pool->host_for(pool->host_user, HYB_MIN(n, lanes), hyb_host_lane, &section);
            hyb_fp_plain();
        } else {
#if defined(HYB_THREADS_POSIX) || defined(HYB_THREADS_WIN32)
            uint64_t section = (hyb_atomic_load(&pool->ticket) >> 32) + 1;
            if (!pool->started) hyb_pool_start(pool);
            pool->fn = fn;
            pool->arg = arg;
            hyb_atomic_store(&pool->done, 0);
            hyb_atomic_store(&pool->ticket, (section & 0xFFFFFFFFu) << 32 | (uint64_t)n << 16);
            if (hyb_atomic_load(&pool->sleepers)) hyb_pool_wake(pool);
            hyb_pool_work(pool, 0);
            for (i = 0; hyb_atomic_load(&pool->done) < (uint64_t)n; i++) {
                hyb_pause();
                if (i > 2000) hyb_yield(); /* a worker lost its core: give it ours */
            }
#endif
        }
        hyb_atomic_store(&pool->busy, 0);
        return;
    }
    for (i = 0; i < n; i++) fn(arg, i, 0);
}

static void hyb_pool_stop(hyb_pool *pool)
{
#if defined(HYB_THREADS_POSIX) || defined(HYB_THREADS_WIN32)
    int i;
    hyb_pool_adopt(pool);
    if (!pool->started) return;
    hyb_atomic_store(&pool->stop, 1);
    hyb_pool_wake(pool);
    for (i = 0; i < pool->n_workers; i++) {
    #if defined(HYB_THREADS_POSIX)
        pthread_join(pool->workers[i].thread, NULL);
    #else
        WaitForSingleObject(pool->workers[i].thread, INFINITE);
        CloseHandle(pool->workers[i].thread);
    #endif
    }
    pool->started = false;
#else
    HYB_UNUSED(pool);
#endif
}
#endif
