/* The device: memory, queues, kernels compiled and cached, captured graphs, and every failure on the way. Runs on a
 * GPU, or on the emulator of tests/emu in the folder that HYBRID_CUDA_PATH names (build/emu when it is not set);
 * failures are injected in the emulator only.
 * [emu] [emu-reordered] [emu-check] [tsan] */
#define HYBRID_IMPLEMENTATION
#ifndef HYBRID_NO_SIMD
    #define HYBRID_NO_SIMD /* the processor computes nothing here, and compiles fast */
#endif
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"
#include "emu/counters.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* The leak checker cannot read the emulator's terabyte of address space; leaks of the host are counted here. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static char folder[400];         /* an empty one, made for this run */
static const emu_counts *counts; /* NULL on a real GPU */

/* ---- a host that counts its memory, keeps the log, and has kernels of its own ------------------------------------ */

typedef struct counting {
    long blocks, calls, fail_at;
} counting;
static void *counting_alloc(void *user, size_t size)
{
    counting *c = (counting *)user;
    void *p;
    if (c->fail_at && ++c->calls >= c->fail_at) return NULL;
    if ((p = malloc(size)) != NULL) c->blocks++;
    return p;
}
static void counting_free(void *user, void *block)
{
    ((counting *)user)->blocks--;
    free(block);
}

/* Whether one of the device's locks is held, when something of the host's is called: it could wait for a thread that
 * waits for the lock. */
static hyb_cuda *watched;
static int n_watched, n_locked;
static void watch(void)
{
    if (!watched) return;
    n_watched++;
    n_locked +=
        hyb_atomic_load(&watched->lock) || hyb_atomic_load(&watched->blas_lock) || hyb_atomic_load(&watched->jit.lock);
}

static char said[8000];
static hyb_spin said_lock;
static void listen_log(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    (void)level;
    watch();
    hyb_spin_take(&said_lock); /* threads log at once */
    if (strlen(said) + strlen(message) + 2 < sizeof said)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", message);
    hyb_spin_give(&said_lock);
}

static hybrid_runtime *make_runtime(counting *c)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    if (c) {
        memset(c, 0, sizeof *c);
        desc.allocator.alloc = counting_alloc;
        desc.allocator.free = counting_free;
        desc.allocator.user = c;
    }
    desc.logger.log = listen_log;
    desc.n_threads = 2;
    desc.device = "cpu";
    hybrid_runtime_create(&desc, &rt, NULL);
    return rt;
}

enum { BASIC, BAD, BIG, NAMES, MODULES };
enum { ADD, INDEXED, FAULT };
static const char *const basic_text[] = {
    "extern \"C\" __global__ void add(float *x, float a, int n)\n{ int i = blockIdx.x * blockDim.x + threadIdx.x; if "
    "(i < n) x[i] += a * FACTOR; }\n",
    "extern \"C\" __global__ void indexed(float *x, const int *at, float a)\n{ if (threadIdx.x == 0) x[*at] += a; }\n",
    "extern \"C\" __global__ void fault(float **x)\n{ **x = 1.0f; }\n", NULL
};
static const char *const bad_text[] = { "extern \"C\" __global__ void bad(float *x) { x[0] = nowhere; }\n", NULL };
static const char *const big_text[] = {
    "extern \"C\" __global__ void big(float *x, int n)\n{ extern __shared__ float s[]; for (int i = threadIdx.x; i < "
    "n; i += blockDim.x) s[i] = (float)i;\n"
    "  __syncthreads(); for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = s[n - 1 - i]; }\n",
    NULL
};

static const hyb_cuda_module_info *own_modules(int module)
{
    /* clang-format off */
    static const hyb_cuda_module_info table[MODULES] = {
        { "basic", { basic_text, NULL, NULL, NULL }, { "-DFACTOR=1.0f", NULL, NULL, NULL },
        { "add", "indexed", "fault", NULL } },
        { "bad", { bad_text, NULL, NULL, NULL }, { NULL, NULL, NULL, NULL }, { "bad", NULL } },
        { "big", { big_text, NULL, NULL, NULL }, { NULL, NULL, NULL, NULL }, { "big", NULL } },
        { "names", { basic_text, NULL, NULL, NULL }, { "-DFACTOR=2.0f", NULL, NULL, NULL },
        { "add", "no_such_kernel", NULL } }
    };
    /* clang-format on */
    return &table[module];
}

static hybrid_result open_device(hybrid_runtime *rt, uint64_t max_bytes, const char *cache, hyb_cuda **cu,
                                 hybrid_error *err)
{
    hyb_cuda_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.max_bytes = max_bytes;
    desc.cache.path = cache;
    desc.modules = own_modules;
    desc.n_modules = MODULES;
    return hyb_cuda_open(rt, &desc, cu, err);
}

static void launch_add(hyb_cuda_queue *q, int module, void *x, float a, int n)
{
    unsigned grid[3] = { 0, 1, 1 }, block[3] = { 64, 1, 1 };
    void *args[3];
    grid[0] = (unsigned)(n + 63) / 64;
    args[0] = &x;
    args[1] = &a;
    args[2] = &n;
    hyb_cuda_launch(q, module, ADD, grid, block, 0, args);
}

static float *ramp(int n)
{
    float *x = (float *)malloc(sizeof(float) * (size_t)n);
    int i;
    for (i = 0; i < n; i++) x[i] = (float)(i % 1000) * 0.5f;
    return x;
}

/* ---- memory and copies ------------------------------------------------------------------------------------------- */

static void test_memory(hybrid_runtime *rt)
{
    hyb_cuda *cu = NULL, *other = NULL;
    hybrid_error err;
    void *p[40], *x = NULL;
    uint64_t available = 0, total = 0, room;
    int i;
    TEST("memory");
    if (open_device(rt, 0, "", &cu, &err)) {
        CHECK(0, "%s", err.message);
        return;
    }
    hyb_cuda_memory(cu, &available, &total);
    room = hyb_cuda_room(cu);
    CHECK(total > available / 2, "%.0f of %.0f MB, room %.0f", (double)available / 1e6, (double)total / 1e6,
          (double)room / 1e6);
    CHECK(available > 100u << 20, "%.0f of %.0f MB, room %.0f", (double)available / 1e6, (double)total / 1e6,
          (double)room / 1e6);
    CHECK(room == available, "%.0f of %.0f MB, room %.0f", (double)available / 1e6, (double)total / 1e6,
          (double)room / 1e6);
    for (i = 0; i < 40; i++) {
        CHECK(!hyb_cuda_alloc(cu, 1000 + (size_t)i * 100, &p[i], &err), "%d: %s", i, err.message);
        CHECK((uintptr_t)p[i] % 256 == 0, "%d: %s", i, err.message);
    }
    CHECK(cu->n_device_allocations == 1, "40 tensors in one block: %u", cu->n_device_allocations);
    CHECK(cu->arena.total == 2u << 20, "40 tensors in one block: %u", cu->n_device_allocations);
    CHECK(!hyb_cuda_alloc(cu, 5u << 20, &x, &err), "a big one has its own: %u", cu->n_device_allocations);
    CHECK(cu->n_device_allocations == 2, "a big one has its own: %u", cu->n_device_allocations);
    CHECK(cu->arena.total == 8u << 20, "a big one has its own: %u", cu->n_device_allocations);
    hyb_cuda_hold(cu, (char *)x + 100);
    hyb_cuda_free(cu, x);
    CHECK(cu->arena.total == 8u << 20, "a view keeps it");
    hyb_cuda_free(cu, (char *)x + 100);
    CHECK(cu->arena.total == 2u << 20, "the block goes back");
    for (i = 0; i < 40; i++) hyb_cuda_free(cu, p[i * 7 % 40]);
    hyb_cuda_free(cu, NULL);
    CHECK(cu->arena.total == 0, "all of them");
    CHECK((!counts || counts->bytes == 0), "all of them");
    CHECK(hyb_cuda_alloc(cu, (size_t)1 << 50, &x, &err) == HYBRID_ERROR_MEMORY, "%s", err.message);
    CHECK(!x, "%s", err.message);
    CHECK(strstr(err.message, "free"), "%s", err.message);
    CHECK(strstr(err.message, "MB"), "%s", err.message);
    CHECK(hyb_cuda_alloc(cu, SIZE_MAX, &x, &err) == HYBRID_ERROR_MEMORY, "%s", err.message);
    CHECK(!x, "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 300, &x, &err), "and on: %s", err.message);
    CHECK(!open_device(rt, 0, "", &other, &err), "the context is shared: %s", err.message);
    hyb_cuda_release(cu); /* with something still in use */
    CHECK(!counts || counts->bytes == 0, "%llu bytes stay", counts->bytes);
    hyb_cuda_release(other);
    CHECK(!counts || (counts->bytes == 0 && counts->pinned_bytes == 0), "nothing stays");

    TEST("cap");
    if (open_device(rt, 10u << 20, "", &cu, &err)) {
        CHECK(0, "%s", err.message);
        return;
    }
    CHECK(hyb_cuda_room(cu) == 10u << 20, "room is the cap");
    CHECK(!hyb_cuda_alloc(cu, 1u << 20, &p[0], &err), "to the byte: %llu", (unsigned long long)hyb_cuda_room(cu));
    CHECK(cu->arena.total == 1u << 20, "to the byte: %llu", (unsigned long long)hyb_cuda_room(cu));
    CHECK(hyb_cuda_room(cu) == 9u << 20, "to the byte: %llu", (unsigned long long)hyb_cuda_room(cu));
    hyb_cuda_free(cu, p[0]);
    CHECK(!hyb_cuda_alloc(cu, 6u << 20, &p[0], &err), "%s", err.message);
    CHECK(hyb_cuda_room(cu) == 4u << 20, "%s", err.message);
    CHECK(hyb_cuda_alloc(cu, 5u << 20, &p[1], &err) == HYBRID_ERROR_MEMORY, "%s", err.message);
    CHECK(strstr(err.message, "5.0 MB"), "%s", err.message);
    CHECK(strstr(err.message, "10.0 MB"), "%s", err.message);
    CHECK(strstr(err.message, "4.0 MB"), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 3u << 20, &p[1], &err) && !hyb_cuda_alloc(cu, 1u << 20, &p[2], &err), "to the byte: %s",
          err.message);
    CHECK(hyb_cuda_room(cu) == 0, "full: %llu", (unsigned long long)hyb_cuda_room(cu));
    CHECK(hyb_cuda_alloc(cu, 1, &p[3], &err) == HYBRID_ERROR_MEMORY, "full: %llu",
          (unsigned long long)hyb_cuda_room(cu));
    hyb_cuda_free(cu, p[0]);
    CHECK(hyb_cuda_room(cu) == 6u << 20, "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 6u << 20, &p[0], &err), "%s", err.message);
    hyb_cuda_release(cu);

    TEST("separate");
    {
        hyb_cuda_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.separate = true;
        desc.cache.path = "";
        CHECK(!hyb_cuda_open(rt, &desc, &cu, &err), "%s", err.message);
        for (i = 0; i < 4; i++) CHECK(!hyb_cuda_alloc(cu, 100, &p[i], &err), "%s", err.message);
        CHECK(cu->n_device_allocations == 4, "%u", cu->n_device_allocations);
        CHECK(cu->arena.total == 1024, "%u", cu->n_device_allocations);
        hyb_cuda_release(cu);
    }
}

static void test_copies(hybrid_runtime *rt)
{
    static const size_t sizes[] = { 1, 3, 4095, 65536, (4u << 20) - 1, 4u << 20, (4u << 20) + 1, (19u << 20) + 7 };
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL, *q2 = NULL;
    hybrid_error err;
    char *data = (char *)malloc(20u << 20), *back = (char *)malloc(20u << 20);
    void *x = NULL, *y = NULL;
    size_t i;
    int k;
    TEST("copies");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q2, &err), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 20u << 20, &x, &err) && !hyb_cuda_alloc(cu, 20u << 20, &y, &err), "%s", err.message);
    for (k = 0; k < COUNT(sizes); k++) {
        size_t n = sizes[k];
        for (i = 0; i < n; i++) data[i] = (char)(i * 7 + i / 4099 + (i >> 22) * 31 + (size_t)k);
        memset(back, 0, n);
        hyb_cuda_write(q, x, data, n);
        memset(data, 0x55, n); /* the host's memory may be used again at once */
        hyb_cuda_copy(q, y, x, n);
        hyb_cuda_zero(q, x, n);
        hyb_cuda_read(q, back, y, n);
        CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
        for (i = 0; i < n && back[i] == (char)(i * 7 + i / 4099 + (i >> 22) * 31 + (size_t)k); i++) {}
        CHECK(i == n, "%zu bytes: wrong at %zu", n, i);
        hyb_cuda_read(q, back, x, n);
        CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
        for (i = 0; i < n && back[i] == 0; i++) {}
        CHECK(i == n, "%zu zeros: wrong at %zu", n, i);
        CHECK(!q->back_used, "pinned memory is free again after a sync");
        CHECK(!q->n_pending, "pinned memory is free again after a sync");
        CHECK(!q->stages[q->stage].used, "pinned memory is free again after a sync");
    }
    for (i = 0; i < 3000; i++) { /* small pieces fill and go round the ring; more reads than are kept pending */
        int v = (int)i;
        hyb_cuda_write(q, (char *)x + i * 4, &v, 4);
    }
    for (i = 0; i < 3000; i++) hyb_cuda_read(q, back + i * 4, (char *)x + i * 4, 4);
    hyb_cuda_write(q, x, data, 0);
    hyb_cuda_read(q, back, x, 0);
    CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
    for (i = 0; i < 3000; i++) {
        int v;
        memcpy(&v, back + i * 4, 4);
        if (v != (int)i) break;
    }
    CHECK(i == 3000, "small pieces: %zu", i);
    for (i = 0; i < 40; i++) { /* queue to queue */
        memset(data, (int)i, 100000);
        hyb_cuda_write(q, x, data, 100000);
        hyb_cuda_wait(q2, q);
        hyb_cuda_copy(q2, y, x, 100000);
        hyb_cuda_wait(q, q2);
        hyb_cuda_zero(q, x, 100000);
        hyb_cuda_read(q2, back, y, 100000);
        CHECK(!hyb_cuda_sync(q2, &err), "%s %d", err.message, back[0]);
        CHECK(back[0] == (char)i, "%s %d", err.message, back[0]);
        CHECK(back[99999] == (char)i, "%s %d", err.message, back[0]);
    }
    CHECK(q->n_writes == 3000 + 8 + 40, "%llu writes, %llu syncs", (unsigned long long)q->n_writes,
          (unsigned long long)q->n_syncs);
    CHECK(q->bytes_written > 30u << 20, "%llu writes, %llu syncs", (unsigned long long)q->n_writes,
          (unsigned long long)q->n_syncs);
    CHECK(q->n_syncs == 17, "%llu writes, %llu syncs", (unsigned long long)q->n_writes, (unsigned long long)q->n_syncs);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu); /* the other queue keeps it */
    hyb_cuda_zero(q2, x, 10);
    CHECK(!hyb_cuda_sync(q2, &err), "%s", err.message);
    hyb_cuda_queue_destroy(q2);
    hyb_cuda_queue_destroy(NULL);
    CHECK(!counts || (counts->bytes == 0 && counts->pinned_bytes == 0), "nothing stays");
    free(data);
    free(back);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

static bool heard(void *user, int done, int n)
{
    int *seen = (int *)user;
    seen[0]++;
    seen[1] = done * 100 + n;
    return seen[0] < seen[2];
}

static void test_kernels(hybrid_runtime *rt)
{
    static const int warm[] = { BASIC, BIG };
    char cache[500], line[900];
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    void *x = NULL, *caller = NULL, *own = NULL;
    float *data = ramp(20000), *back = ramp(20000);
    unsigned one[3] = { 1, 1, 1 }, block[3] = { 128, 1, 1 };
    void *args[2];
    int i, n = 20000, seen[3] = { 0, 0, 100 };
    TEST("kernels");
    snprintf(cache, sizeof cache, "%s/cache", folder);
    CHECK(!open_device(rt, 0, cache, &cu, &err) && !hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_can_compile(cu, &err), "%s", err.message);
    CHECK(cu->cc >= 75, "cc %d, %d SM, %u bytes shared, %s", cu->cc, cu->n_sm, cu->shared_optin, cu->name);
    CHECK(cu->n_sm > 0, "cc %d, %d SM, %u bytes shared, %s", cu->cc, cu->n_sm, cu->shared_optin, cu->name);
    CHECK(cu->shared_optin >= cu->shared_block, "cc %d, %d SM, %u bytes shared, %s", cu->cc, cu->n_sm, cu->shared_optin,
          cu->name);
    CHECK(cu->name[0], "cc %d, %d SM, %u bytes shared, %s", cu->cc, cu->n_sm, cu->shared_optin, cu->name);
    cu->driver.api.cuCtxGetCurrent(&caller);
    CHECK(caller == NULL, "the caller has no context, before and after");
    CHECK(!hyb_cuda_alloc(cu, sizeof(float) * 20000, &x, &err), "%s", err.message);
    hyb_cuda_write(q, x, data, sizeof(float) * 20000);
    launch_add(q, BASIC, x, 3.0f, n);
    launch_add(q, BASIC, x, 0.25f, n / 2);
    launch_add(q, BASIC, x, 99.0f, 0); /* no work */
    hyb_cuda_read(q, back, x, sizeof(float) * 20000);
    CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
    for (i = 0; i < n && back[i] == data[i] + 3.0f + (i < n / 2 ? 0.25f : 0.0f); i++) {}
    CHECK(i == n, "wrong at %d; %llu launches, %u compiled", i, (unsigned long long)q->n_launches, cu->jit.n_compiled);
    CHECK(q->n_launches == 2, "wrong at %d; %llu launches, %u compiled", i, (unsigned long long)q->n_launches,
          cu->jit.n_compiled);
    CHECK(cu->jit.n_compiled == 1, "wrong at %d; %llu launches, %u compiled", i, (unsigned long long)q->n_launches,
          cu->jit.n_compiled);
    CHECK(cu->jit.n_from_cache == 0, "wrong at %d; %llu launches, %u compiled", i, (unsigned long long)q->n_launches,
          cu->jit.n_compiled);
    n = 40000 / 4;
    if (cu->shared_optin >= (unsigned)n * 4 && n * 4 < 48 << 10) n = 15000;
    args[0] = &x;
    args[1] = &n;
    hyb_cuda_launch(q, BIG, 0, one, block, (unsigned)n * 4, args);
    hyb_cuda_read(q, back, x, sizeof(float) * (size_t)n);
    CHECK(!hyb_cuda_sync(q, &err), "%u bytes of shared memory: %s", (unsigned)n * 4, err.message);
    for (i = 0; i < n && back[i] == (float)(n - 1 - i); i++) {}
    CHECK(i == n, "wrong at %d", i);
    own = cu->context;
    cu->driver.api.cuCtxSetCurrent(own);
    launch_add(q, BASIC, x, 1.0f, 10);
    cu->driver.api.cuCtxGetCurrent(&caller);
    CHECK(caller == own, "a caller's context stays current");
    cu->driver.api.cuCtxSetCurrent(NULL);
    CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);

    TEST("kernels that cannot be");
    hyb_cuda_launch(q, BASIC, 7, one, block, 0, args);
    CHECK(q->failure.result == HYBRID_ERROR_INVALID, "%s", q->failure.message);
    CHECK(strstr(q->failure.message, "'basic'"), "%s", q->failure.message);
    launch_add(q, BASIC, x, 1.0f, 10);
    CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_INVALID, "it sticks: %s", err.message);
    CHECK(strstr(err.message, "no kernel 7"), "it sticks: %s", err.message);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_queue_create(cu, &q, &err);
    hyb_cuda_launch(q, 77, 0, one, block, 0, args);
    CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_INVALID, "%s", err.message);
    hyb_cuda_queue_destroy(q);
    for (i = 0; i < 2; i++) { /* the second time from memory: the compiler is not asked again */
        said[0] = 0;
        hyb_cuda_queue_create(cu, &q, &err);
        hyb_cuda_launch(q, BAD, 0, one, block, 0, args);
        CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_UNSUPPORTED, "%s", err.message);
        CHECK(strstr(err.message, "'bad'"), "%s", err.message);
        CHECK(strstr(err.message, "nowhere"), "%s", err.message);
        CHECK((i == 0) == (strstr(said, "nowhere") != NULL), "the log: %s", said);
        hyb_cuda_queue_destroy(q);
    }
    hyb_cuda_queue_create(cu, &q, &err);
    launch_add(q, NAMES, x, 1.0f, 10);
    CHECK(hyb_cuda_sync(q, &err), "%s", err.message);
    CHECK(strstr(err.message, "no_such_kernel"), "%s", err.message);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_queue_create(cu, &q, &err);
    block[0] = 4096;
    hyb_cuda_launch(q, BIG, 0, one, block, 0, args);
    CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_DEVICE, "%s", err.message);
    CHECK(strstr(err.message, "kernel big"), "%s", err.message);
    CHECK(strstr(err.message, "4096"), "%s", err.message);
    CHECK(strstr(err.message, "CUDA_ERROR"), "%s", err.message);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);

    TEST("cache on disk");
    CHECK(!open_device(rt, 0, cache, &cu, &err), "%s", err.message);
    CHECK(!hyb_cuda_warmup(cu, warm, 2, heard, seen, &err), "%s: %d calls", err.message, seen[0]);
    CHECK(seen[0] == 3, "%s: %d calls", err.message, seen[0]);
    CHECK(seen[1] == 202, "%s: %d calls", err.message, seen[0]);
    CHECK(cu->jit.n_compiled == 0, "%u compiled, %u from the cache", cu->jit.n_compiled, cu->jit.n_from_cache);
    CHECK(cu->jit.n_from_cache == 2, "%u compiled, %u from the cache", cu->jit.n_compiled, cu->jit.n_from_cache);
    hyb_cuda_release(cu);
    snprintf(line, sizeof line,
             "for f in '%s'/*; do printf 'damage' | dd of=$f bs=1 seek=200 conv=notrunc 2>/dev/null; done", cache);
    CHECK(system(line) == 0, "damage");
    for (i = 0; i < 2; i++) {
        CHECK(!open_device(rt, 0, cache, &cu, &err) && !hyb_cuda_warmup(cu, warm, 2, NULL, NULL, &err), "%s",
              err.message);
        CHECK(cu->jit.n_compiled == (i ? 0u : 2u), "damaged entries are made anew, once: %u", cu->jit.n_compiled);
        hyb_cuda_release(cu);
    }
    seen[0] = 0;
    seen[2] = 2;
    CHECK(!open_device(rt, 0, cache, &cu, &err), "%s", err.message);
    CHECK(hyb_cuda_warmup(cu, warm, 2, heard, seen, &err) == HYBRID_ERROR_CANCELLED, "%s", err.message);
    CHECK(strstr(err.message, "1 of 2"), "%s", err.message);
    hyb_cuda_release(cu);
    free(data);
    free(back);
}

/* ---- graphs ---- */

static void test_graphs(hybrid_runtime *rt)
{
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hyb_cuda_graph *g = NULL;
    hybrid_error err;
    void *x = NULL, *at = NULL, *args[3];
    unsigned one[3] = { 1, 1, 1 }, block[3] = { 32, 1, 1 };
    float back[100], a = 1.0f;
    int i, wrong = 0, basic = BASIC;
    char cache[500];
    TEST("graphs");
    snprintf(cache, sizeof cache, "%s/cache", folder);
    CHECK(!open_device(rt, 0, cache, &cu, &err) && !hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 400, &x, &err) && !hyb_cuda_alloc(cu, 4, &at, &err), "%s", err.message);
    hyb_cuda_capture_begin(q, &err);
    launch_add(q, BASIC, x, 1.0f, 100);
    CHECK(hyb_cuda_capture_end(q, &g, &err) == HYBRID_ERROR_INVALID, "a module must be there before: %s", err.message);
    CHECK(!g, "a module must be there before: %s", err.message);
    CHECK(strstr(err.message, "compiling"), "a module must be there before: %s", err.message);
    CHECK(q->failure.result == HYBRID_OK, "the queue is as good as before");
    CHECK(!hyb_cuda_warmup(cu, &basic, 1, NULL, NULL, &err), "%s", err.message);
    for (i = 0; i < 4; i++) {
        hyb_cuda_capture_begin(q, &err);
        if (i == 0) hyb_cuda_write(q, at, &i, 4);
        if (i == 1) hyb_cuda_read(q, back, x, 4);
        if (i == 2) CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_INVALID, "%s", err.message);
        if (i == 3) CHECK(!hyb_cuda_queue_blas(q, &err), "no cuBLAS is opened in a capture: %s", err.message);
        launch_add(q, BASIC, x, 1.0f, 100);
        CHECK((hyb_cuda_capture_end(q, &g, &err) == HYBRID_ERROR_INVALID) == (i < 3), "case %d: %s", i, err.message);
        CHECK((i == 3) == (g != NULL), "case %d: %s", i, err.message);
        CHECK(!q->failure.result, "case %d: %s", i, err.message);
        hyb_cuda_graph_destroy(cu, g);
    }
    CHECK(hyb_cuda_capture_end(q, &g, &err) == HYBRID_ERROR_INVALID, "there is none: %s", err.message);
    hyb_cuda_zero(q, x, 400);
    hyb_cuda_capture_begin(q, &err);
    args[0] = &x;
    args[1] = &at;
    args[2] = &a;
    hyb_cuda_launch(q, BASIC, INDEXED, one, block, 0, args);
    hyb_cuda_copy(q, (char *)x + 360, x, 4);
    launch_add(q, BASIC, x, 0.5f, 50);
    CHECK(!hyb_cuda_capture_end(q, &g, &err), "%s", err.message);
    CHECK(g && g->n_launches == 2, "%s", err.message);
    for (i = 0; i < 10; i++) { /* what changes lies in device memory */
        int where = i * 5;
        hyb_cuda_write(q, at, &where, 4);
        hyb_cuda_graph_launch(q, g, &err);
    }
    hyb_cuda_read(q, back, x, 400);
    CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
    for (i = 0; i < 50; i++) wrong += back[i] != 5.0f + (i % 5 == 0 ? 1.0f : 0.0f);
    for (i = 50; i < 90; i++) wrong += back[i] != 0.0f;
    CHECK(!wrong, "%d wrong, copied %g", wrong, (double)back[90]);
    CHECK(back[90] == 1.0f + 9 * 0.5f, "%d wrong, copied %g", wrong, (double)back[90]);
    CHECK(q->n_graph_launches == 10, "%d wrong, copied %g", wrong, (double)back[90]);
    hyb_cuda_graph_destroy(cu, g);
    hyb_cuda_graph_destroy(cu, NULL);

    TEST("graphs of old drivers");
    if (cu->driver.api.cuGraphInstantiate_v2) {
        cu->driver.api.cuGraphInstantiateWithFlags = NULL;
        hyb_cuda_zero(q, x, 400);
        hyb_cuda_capture_begin(q, &err);
        launch_add(q, BASIC, x, 2.0f, 100);
        CHECK(!hyb_cuda_capture_end(q, &g, &err), "%s", err.message);
        hyb_cuda_graph_launch(q, g, &err);
        hyb_cuda_read(q, back, x, 400);
        CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
        CHECK(back[99] == 2.0f, "%s", err.message);
        hyb_cuda_graph_destroy(cu, g);
    }
    hyb_cuda_capture_begin(q, &err); /* destroyed in the middle */
    launch_add(q, BASIC, x, 2.0f, 100);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
    CHECK(!counts || (counts->bytes == 0 && counts->pinned_bytes == 0), "nothing stays");
}

/* ---- cuBLAS ------------------------------------------------------------------------------------------------------ */

static int idle_gemm(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
                     int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c,
                     int ldc, int compute, int algorithm)
{
    (void)handle;
    (void)op_a;
    (void)op_b;
    (void)m;
    (void)n;
    (void)k;
    (void)alpha;
    (void)a;
    (void)type_a;
    (void)lda;
    (void)b;
    (void)type_b;
    (void)ldb;
    (void)beta;
    (void)c;
    (void)type_c;
    (void)ldc;
    (void)compute;
    (void)algorithm;
    return 0;
}
static int refuse_create(void **handle)
{
    (void)handle;
    return 3;
}

static void test_bad_blas(hybrid_runtime *rt)
{
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    int i;
    TEST("a cuBLAS that is broken");
    for (i = 0; i < 2; i++) {
        CHECK(!open_device(rt, 0, "", &cu, &err) && !hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
        if (hyb_cuda_blas(cu, &err)) {
            if (i)
                cu->blas->api.cublasCreate = refuse_create;
            else
                cu->blas->api.cublasGemmEx = idle_gemm;
            said[0] = 0;
            CHECK(!hyb_cuda_queue_blas(q, &err), "%s", err.message);
            CHECK(strstr(err.message, i ? "status 3" : "wrong product"), "%s", err.message);
            CHECK(strstr(said, err.message), "%s", err.message);
            said[0] = 0;
            CHECK(!hyb_cuda_queue_blas(q, &err), "not tried again: %s", err.message);
            CHECK(!said[0], "not tried again: %s", err.message);
            CHECK(!q->blas.workspace, "not tried again: %s", err.message);
            CHECK(!hyb_cuda_gemm(q, HYB_CUDA_R_16F, NULL, 1, NULL, 1, 0, NULL, 1, 1, 1, 1, false), "own kernels do it");
            CHECK(!q->failure.result, "own kernels do it");
        }
        hyb_cuda_queue_destroy(q);
        hyb_cuda_release(cu);
    }
}

static void test_blas(hybrid_runtime *rt)
{
    enum { ROWS = 5, OUT = 24, IN = 48 };
    static uint16_t w[OUT * IN], x[ROWS * IN];
    static float y[ROWS * (OUT + 3)];
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    void *dw = NULL, *dx = NULL, *dy = NULL;
    int i, j, k, pass;
    TEST("cuBLAS");
    CHECK(!open_device(rt, 0, "", &cu, &err) && !hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    q->rehearsing = true;
    hyb_cuda_queue_blas(q, &err);
    q->rehearsing = false;
    if (!hyb_cuda_queue_blas(q, &err)) {
        CHECK(strlen(err.message) > 20, "a reason");
        SKIP_PROCESSOR("%s", err.message);
    } else {
        CHECK(q->blas.workspace, "%d", cu->blas->version[0]);
        CHECK(cu->blas->version[0] >= 11, "%d", cu->blas->version[0]);
        for (i = 0; i < OUT * IN; i++) w[i] = hyb_f32_to_f16((float)(i % 17 - 8) / 16);
        for (i = 0; i < ROWS * IN; i++) x[i] = hyb_f32_to_f16((float)(i % 13 - 6) / 8);
        CHECK(!hyb_cuda_alloc(cu, sizeof w, &dw, &err), "%s", err.message);
        CHECK(!hyb_cuda_alloc(cu, sizeof x, &dx, &err), "%s", err.message);
        CHECK(!hyb_cuda_alloc(cu, sizeof y, &dy, &err), "%s", err.message);
        hyb_cuda_write(q, dw, w, sizeof w);
        hyb_cuda_write(q, dx, x, sizeof x);
        hyb_cuda_zero(q, dy, sizeof y);
        for (pass = 1; pass <= 2; pass++) {
            double worst = 0;
            CHECK(hyb_cuda_gemm(q, HYB_CUDA_R_16F, dw, IN, dx, IN, HYB_CUDA_R_32F, dy, OUT + 3, ROWS, OUT, IN,
                                pass == 2),
                  "there is cuBLAS");
            hyb_cuda_read(q, y, dy, sizeof y);
            CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
            for (i = 0; i < ROWS; i++)
                for (j = 0; j < OUT + 3; j++) {
                    double sum = 0, d;
                    for (k = 0; k < IN && j < OUT; k++)
                        sum += (double)hyb_f16_to_f32(w[j * IN + k]) * (double)hyb_f16_to_f32(x[i * IN + k]);
                    d = fabs(y[i * (OUT + 3) + j] - pass * sum);
                    if (!(d <= worst)) worst = d == d ? d : 1e9;
                }
            CHECK(worst < 1e-4, "pass %d: off by %g", pass, worst);
        }
    }
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
    CHECK(!counts || counts->bytes == 0, "nothing stays");
}

/* What fails while something is recorded, or when it is run, is no failure of the queue. */
static void test_broken_graphs(hybrid_runtime *rt)
{
    static const struct {
        const char *fail;
        int stage;
    } cases[] = { { "cuStreamBeginCapture:1:900", 0 },
                  { "cuStreamBeginCapture:1:2", 0 },
                  { "cuLaunchKernel:1:901", 1 },
                  { "cuLaunchKernel:2:2", 1 },
                  { "cuMemcpyDtoDAsync:1:906", 1 },
                  { "cuStreamEndCapture:1:901", 1 },
                  { "cuGraphInstantiateWithFlags:1:2", 1 },
                  { "cuGraphLaunch:1:2", 2 },
                  { "cuGraphLaunch:1:900", 2 } };
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hyb_cuda_graph *g = NULL;
    hybrid_error err;
    void *x = NULL;
    float back[2];
    int i, k, stage, basic = BASIC;
    TEST("a recording that fails");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 400, &x, &err), "%s", err.message);
    CHECK(!hyb_cuda_warmup(cu, &basic, 1, NULL, NULL, &err), "%s", err.message);
    for (i = 0; counts && i < COUNT(cases); i++) {
        hyb_cuda_zero(q, x, 400);
        CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
        for (k = 0; k < 2; k++) { /* it fails, and works the next time */
            g = NULL;
            if (!k) setenv("EMU_FAIL", cases[i].fail, 1);
            err.message[0] = 0;
            stage = 0;
            if (!hyb_cuda_capture_begin(q, &err)) {
                stage = 1;
                launch_add(q, BASIC, x, 1.0f, 100);
                hyb_cuda_copy(q, (char *)x + 360, x, 4);
                launch_add(q, BASIC, x, 1.0f, 50);
                if (!hyb_cuda_capture_end(q, &g, &err)) stage = hyb_cuda_graph_launch(q, g, &err) ? 2 : 3;
            }
            unsetenv("EMU_FAIL");
            CHECK(stage == (k ? 3 : cases[i].stage), "%s: stage %d, result %d: %s", cases[i].fail, stage,
                  q->failure.result, err.message);
            CHECK(!q->failure.result, "%s: stage %d, result %d: %s", cases[i].fail, stage, q->failure.result,
                  err.message);
            CHECK(!q->capturing, "%s: stage %d, result %d: %s", cases[i].fail, stage, q->failure.result, err.message);
            CHECK((k || strstr(err.message, "GPU")), "%s: stage %d, result %d: %s", cases[i].fail, stage,
                  q->failure.result, err.message);
            hyb_cuda_read(q, back, x, 8);
            CHECK(!hyb_cuda_sync(q, &err), "%s: %g, %s", cases[i].fail, (double)back[0], err.message);
            CHECK(back[0] == 2.0f * (float)k, "%s: %g, %s", cases[i].fail, (double)back[0], err.message);
            hyb_cuda_graph_destroy(cu, g);
        }
    }
    if (counts) { /* a device that is lost while recording stays so, whatever is refused after that */
        setenv("EMU_FAIL", "cuLaunchKernel:1:700", 1);
        hyb_cuda_capture_begin(q, &err);
        launch_add(q, BASIC, x, 1.0f, 100);
        unsetenv("EMU_FAIL");
        CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_DEVICE, "the first failure is told: %s", err.message);
        CHECK(hyb_cuda_capture_end(q, &g, &err) == HYBRID_ERROR_DEVICE, "at the end, too: %s", err.message);
        CHECK(q->failure.result == HYBRID_ERROR_DEVICE, "and after it: %d", q->failure.result);
    }
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
}

/* cublasDestroy waits for the whole device: a queue that ends may not break what another one records. */
static void test_blas_handles(hybrid_runtime *rt)
{
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL, *other = NULL;
    hyb_cuda_graph *g = NULL;
    hybrid_error err;
    void *x = NULL;
    int i, basic = BASIC;
    TEST("handles of cuBLAS");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 400, &x, &err), "%s", err.message);
    CHECK(!hyb_cuda_warmup(cu, &basic, 1, NULL, NULL, &err), "%s", err.message);
    for (i = 0; i < 3; i++) {
        CHECK(!hyb_cuda_queue_create(cu, &other, &err), "%s", err.message);
        if (!hyb_cuda_queue_blas(other, &err)) SKIP_PROCESSOR("%s", err.message);
        CHECK(!counts || counts->blas_handles == 1, "the one that there is serves again: %llu", counts->blas_handles);
        CHECK(!hyb_cuda_capture_begin(q, &err), "%s", err.message);
        launch_add(q, BASIC, x, 1.0f, 100);
        hyb_cuda_queue_destroy(other);
        CHECK(!hyb_cuda_capture_end(q, &g, &err), "%s", err.message);
        hyb_cuda_graph_destroy(cu, g);
    }
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
    CHECK(!counts || !counts->blas_handles, "%llu handles stay", counts->blas_handles);
}

/* ---- several threads --------------------------------------------------------------------------------------------- */

typedef struct worker {
    hyb_cuda *cu;
    int number, wrong;
    char message[256];
} worker;
static void *work(void *arg)
{
    worker *w = (worker *)arg;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    float back[500];
    int round, i;
    if (hyb_cuda_queue_create(w->cu, &q, &err)) {
        w->wrong = 1;
        return NULL;
    }
    for (round = 0; round < 20 && !w->wrong; round++) {
        void *x = NULL;
        if (hyb_cuda_alloc(w->cu, 2000, &x, &err)) {
            w->wrong++;
            break;
        }
        hyb_cuda_zero(q, x, 2000);
        for (i = 0; i < 5; i++) launch_add(q, BASIC, x, (float)w->number, 500);
        hyb_cuda_read(q, back, x, 2000);
        w->wrong += hyb_cuda_sync(q, &err) != HYBRID_OK;
        for (i = 0; i < 500; i++) w->wrong += back[i] != 5.0f * (float)w->number;
        hyb_cuda_free(w->cu, x);
    }
    /* bookkeeping only: nothing of the driver puts the threads in order */
    for (round = 0; round < 2000 && !w->wrong; round++) {
        void *p[3] = { NULL, NULL, NULL };
        for (i = 0; i < 3; i++)
            w->wrong += hyb_cuda_alloc(w->cu, 300 + (size_t)(round % 7) * 256, &p[i], &err) != HYBRID_OK;
        hyb_cuda_hold(w->cu, p[1]);
        for (i = 0; i < 3; i++) hyb_cuda_free(w->cu, p[i]);
        hyb_cuda_free(w->cu, p[1]);
    }
    if (w->wrong) snprintf(w->message, sizeof w->message, "%s", err.message);
    hyb_cuda_queue_destroy(q);
    return NULL;
}

static void test_threads(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hybrid_error err;
    pthread_t threads[4];
    worker workers[4];
    void *kept = NULL; /* its block stays when the others' parts come and go */
    int i;
    TEST("threads");
    CHECK(!open_device(rt, 0, "", &cu, &err) && !hyb_cuda_alloc(cu, 100, &kept, &err), "%s", err.message);
    memset(workers, 0, sizeof workers);
    for (i = 0; i < 4; i++) {
        workers[i].cu = cu;
        workers[i].number = i + 1;
        CHECK(!pthread_create(&threads[i], NULL, work, &workers[i]), "thread");
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!workers[i].wrong, "thread %d: %d wrong, %s", i, workers[i].wrong, workers[i].message);
    }
    CHECK(cu->arena.n_used == 1, "all came back: %u", cu->arena.n_used);
    CHECK(cu->arena.used == 256, "all came back: %u", cu->arena.n_used);
    CHECK(cu->jit.n_compiled == 1, "compiled once: %u", cu->jit.n_compiled);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
}

/* Whoever waits long for a lock sleeps. */
static volatile uint64_t held_lock;
static void *hold(void *arg)
{
    struct timeval t;
    t.tv_sec = 0;
    t.tv_usec = 400000;
    (void)arg;
    select(0, NULL, NULL, NULL, &t);
    hyb_spin_give(&held_lock);
    return NULL;
}

/* The device of a runtime, asked for its name and its room while another thread opens and uses it. */
static volatile uint64_t n_names;
static void *ask_name(void *arg)
{
    int i;
    for (i = 0; i < 20000 && !hybrid_runtime_device((hybrid_runtime *)arg)[0]; i++) hyb_yield();
    hyb_atomic_add(&n_names, i < 20000);
    return NULL;
}
static void *ask_room(void *arg)
{
    hyb_device *device = (hyb_device *)arg;
    int i;
    for (i = 0; i < 2000; i++) device->ops->fits(device, 1000);
    return NULL;
}

static void test_locks(void)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    hyb_device *device = NULL;
    hybrid_error err;
    pthread_t threads[3];
    void *p;
    clock_t before = clock();
    int i, k, started;
    double burnt;
    TEST("locks");
    hyb_spin_take(&held_lock);
    if (!pthread_create(&threads[0], NULL, hold, NULL)) {
        hyb_spin_take(&held_lock);
        hyb_spin_give(&held_lock);
        pthread_join(threads[0], NULL);
    }
    burnt = (double)(clock() - before) / CLOCKS_PER_SEC;
    CHECK(burnt < 0.2, "%.3f s of the processor for a wait of 0.4 s", burnt);
    memset(&desc, 0, sizeof desc);
    desc.n_threads = 1;
    desc.kernel_cache.path = "";
    CHECK(!hybrid_runtime_create(&desc, &rt, &err), "%s", err.message);
    for (started = 0; started < 3 && !pthread_create(&threads[started], NULL, ask_name, rt); started++) {}
    CHECK(!hyb_runtime_gpu(rt, &device, &err), "%s", err.message);
    CHECK(device, "%s", err.message);
    for (i = 0; i < started; i++) pthread_join(threads[i], NULL);
    CHECK(hybrid_runtime_device(rt)[0], "it has a name");
    for (started = 0; device && started < 2 && !pthread_create(&threads[started], NULL, ask_room, device); started++) {}
    for (i = 0; device && i < 300; i++)
        for (k = 0; k < 2; k++) {
            CHECK(!device->ops->alloc(device, 1000, &p, &err), "%s", err.message);
            device->ops->free(device, p);
        }
    for (i = 0; i < started; i++) pthread_join(threads[i], NULL);
    hybrid_runtime_destroy(rt);
}

static size_t watch_load(void *user, const char *name, void *data, size_t capacity)
{
    (void)user;
    (void)name;
    (void)data;
    (void)capacity;
    watch();
    return 0;
}
static void watch_store(void *user, const char *name, const void *data, size_t size)
{
    (void)user;
    (void)name;
    (void)data;
    (void)size;
    watch();
}

static void test_callbacks(hybrid_runtime *rt)
{
    hyb_cuda_desc desc;
    hyb_cuda *cu = NULL;
    hybrid_error err;
    int big = BIG, bad = BAD;
    TEST("what the host is asked for");
    memset(&desc, 0, sizeof desc);
    desc.cache.load = watch_load;
    desc.cache.store = watch_store;
    desc.modules = own_modules;
    desc.n_modules = MODULES;
    CHECK(!hyb_cuda_open(rt, &desc, &cu, &err), "%s", err.message);
    watched = cu;
    n_watched = n_locked = 0;
    CHECK(!hyb_cuda_can_compile(cu, &err), "%s: %d calls", err.message, n_watched);
    CHECK(n_watched == 1, "%s: %d calls", err.message, n_watched);
    hyb_cuda_blas(cu, &err);
    hyb_cuda_blas(cu, &err);
    CHECK(n_watched == 2, "cuBLAS is logged once: %d calls", n_watched);
    CHECK(!hyb_cuda_warmup(cu, &big, 1, NULL, NULL, &err), "load, store, log: %s: %d calls", err.message, n_watched);
    CHECK(n_watched == 5, "load, store, log: %s: %d calls", err.message, n_watched);
    CHECK(hyb_cuda_warmup(cu, &bad, 1, NULL, NULL, &err), "load, and the compiler's words: %d calls", n_watched);
    CHECK(n_watched > 6, "load, and the compiler's words: %d calls", n_watched);
    watched = NULL;
    CHECK(!n_locked, "a lock is held in %d of %d calls", n_locked, n_watched);
    hyb_cuda_release(cu);
}

/* What fails once is tried again; what cannot be compiled is not. */
static void test_passing_failures(hybrid_runtime *rt)
{
    static const struct {
        const char *fail;
        bool passes;
    } cases[] = { { "cuModuleLoadData:1:900", true },
                  { "cuModuleLoadData:1:2", true },
                  { "nvrtcCompileProgram:1:1", true },
                  { "cuModuleLoadData:1:200", false },
                  { "nvrtcCompileProgram:1:6", false } };
    hyb_cuda *cu = NULL;
    hybrid_error err;
    int i, basic = BASIC;
    TEST("failures that pass");
    for (i = 0; counts && i < COUNT(cases); i++) {
        CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
        setenv("EMU_FAIL", cases[i].fail, 1);
        CHECK(hyb_cuda_warmup(cu, &basic, 1, NULL, NULL, &err), "%s does not fail", cases[i].fail);
        unsetenv("EMU_FAIL");
        CHECK(!hyb_cuda_warmup(cu, &basic, 1, NULL, NULL, &err) == cases[i].passes, "%s: %s", cases[i].fail,
              err.message);
        hyb_cuda_release(cu);
    }
}

/* ---- failures at call N ------------------------------------------------------------------------------------------ */

/* A bit of everything. HYBRID_OK only when the numbers are right. */
static hybrid_result scenario(hybrid_runtime *rt, hybrid_error *err)
{
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hyb_cuda_graph *g = NULL;
    void *x = NULL, *y = NULL;
    float *data = ramp(1300000), back[10];
    hybrid_result r;
    char cache[500];
    int i;
    snprintf(cache, sizeof cache, "%s/cache", folder);
    if (!(r = open_device(rt, 0, cache, &cu, err)) && !(r = hyb_cuda_queue_create(cu, &q, err)) &&
        !(r = hyb_cuda_alloc(cu, 5200000, &x, err)) && !(r = hyb_cuda_alloc(cu, 100, &y, err))) {
        for (i = 0; i < 4; i++) hyb_cuda_write(q, x, data, 5200000); /* once around the ring */
        launch_add(q, BASIC, x, 1.0f, 1300000);
        if (hyb_jit_ready(&cu->jit, BASIC)) {
            bool recorded = !hyb_cuda_capture_begin(q, NULL);
            if (recorded) {
                launch_add(q, BASIC, x, 1.0f, 1300000);
                recorded = !hyb_cuda_capture_end(q, &g, NULL) && !hyb_cuda_graph_launch(q, g, NULL);
            }
            /* no graph: the same work, call by call */
            if (!recorded && !q->failure.result) launch_add(q, BASIC, x, 1.0f, 1300000);
        }
        hyb_cuda_copy(q, y, (char *)x + 5200000 - 40, 40);
        hyb_cuda_read(q, back, y, 40);
        r = hyb_cuda_sync(q, err);
        for (i = 0; i < 10 && !r; i++)
            CHECK(back[i] == data[1300000 - 10 + i] + 2.0f, "a result that says ok and is wrong: %g", (double)back[i]);
    }
    hyb_cuda_graph_destroy(cu, g);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
    free(data);
    return r;
}

static void test_failures(void)
{
    /* clang-format off */
    static const char *const functions[] = {
        "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDevicePrimaryCtxRetain", "cuMemAlloc",
        "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate", "cuEventRecord", "cuEventQuery", "cuEventSynchronize",
        "cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync",
        "cuMemcpyDtoDAsync", "cuStreamSynchronize", "cuStreamBeginCapture", "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuMemFree", "cuMemFreeHost", "cuStreamDestroy"
    };
    /* clang-format on */
    counting c;
    hybrid_runtime *rt = make_runtime(&c);
    hybrid_error err;
    hybrid_result r;
    char fail[100];
    long left = c.blocks, n, failed = 0;
    unsigned long long pinned;
    int k;
    TEST("failures at call N");
    CHECK(!scenario(rt, &err), "without a failure: %s", err.message);
    for (k = 0; counts && k < COUNT(functions); k++)
        for (n = 1; n <= 6; n++) {
            const unsigned long long bytes = counts->bytes, pinned = counts->pinned_bytes;
            snprintf(fail, sizeof fail, "%s:%ld", functions[k], n);
            setenv("EMU_FAIL", fail, 1);
            memset(&err, 0, sizeof err);
            r = scenario(rt, &err);
            unsetenv("EMU_FAIL");
            failed += r != HYBRID_OK;
            if (!r && n > 2) n = 6; /* it takes no more calls than that, or does without */
            CHECK(r == HYBRID_OK || (err.result == r && strlen(err.message) > 20), "%s: %d, '%s'", fail, r,
                  err.message);
            CHECK(c.blocks == left, "%s: %ld blocks of the host left", fail, c.blocks - left);
            CHECK(strstr(fail, "Free") || (counts->bytes == bytes && counts->pinned_bytes == pinned),
                  "%s: %llu bytes of the device left, %llu pinned", fail, counts->bytes, counts->pinned_bytes);
        }
    CHECK(!counts || failed > 20, "%ld failed", failed);
    setenv("EMU_FAIL", "cuMemHostAlloc:1+", 1);
    CHECK(!scenario(rt, &err), "no pinned memory at all: plain copies: %s", err.message);
    unsetenv("EMU_FAIL");
    CHECK(!scenario(rt, &err), "and on: %s", err.message);

    TEST("no host memory at allocation N");
    pinned = counts ? counts->pinned_bytes : 0; /* what a cuMemFreeHost that failed left */
    for (n = 1; n < 100; n++) {
        c.calls = 0;
        c.fail_at = n;
        memset(&err, 0, sizeof err);
        r = scenario(rt, &err);
        c.fail_at = 0;
        CHECK(r == HYBRID_OK || (r == HYBRID_ERROR_MEMORY && err.result == r), "%ld: %d '%s'", n, r, err.message);
        CHECK(c.blocks == left, "%ld: %ld blocks left", n, c.blocks - left);
        CHECK((!counts || (counts->bytes == 0 && counts->pinned_bytes == pinned)), "%ld: %ld blocks left", n,
              c.blocks - left);
        if (!r && c.calls < n) break;
    }
    CHECK(n > 8, "%ld allocations", n);
    CHECK(n < 100, "%ld allocations", n);
    hybrid_runtime_destroy(rt);
}

/* ---- parts that need a process of their own: a lost device stays lost, and a driver is loaded once --------------- */

static int part_sticky(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL, *q2 = NULL;
    hybrid_error err, again;
    unsigned one[3] = { 1, 1, 1 };
    void *x = NULL, *args[1];
    hyb_cuda_graph *g = NULL;
    float back[4] = { 0, 0, 0, 0 };
    TEST("a lost device");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(!hyb_cuda_queue_create(cu, &q2, &err), "%s", err.message);
    CHECK(!hyb_cuda_alloc(cu, 400, &x, &err), "%s", err.message);
    launch_add(q, BASIC, x, 1.0f, 4);
    hyb_cuda_capture_begin(q, &err);
    launch_add(q, BASIC, x, 1.0f, 4);
    CHECK(!hyb_cuda_capture_end(q, &g, &err), "%s", err.message);
    hyb_cuda_zero(q, x, 400); /* a pointer to nothing */
    args[0] = &x;
    hyb_cuda_launch(q, BASIC, FAULT, one, one, 0, args);
    hyb_cuda_read(q, back, x, 16);
    CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_DEVICE, "%s", err.message);
    CHECK(strstr(err.message, "fault"), "%s", err.message);
    CHECK(strstr(err.message, "CUDA_ERROR"), "%s", err.message);
    CHECK(strstr(err.message, "CPU"), "%s", err.message);
    hyb_cuda_write(q, x, back, 16);
    hyb_cuda_graph_launch(q, g, &err);
    hyb_cuda_capture_begin(q, &err);
    CHECK(hyb_cuda_sync(q, &again) == HYBRID_ERROR_DEVICE, "the first failure stays: %s", again.message);
    CHECK(!strcmp(again.message, err.message), "the first failure stays: %s", again.message);
    hyb_cuda_zero(q2, x, 4);
    CHECK(hyb_cuda_sync(q2, &err) == HYBRID_ERROR_DEVICE, "other queues see it: %s", err.message);
    CHECK(hyb_cuda_alloc(cu, 64u << 20, &x, &err) == HYBRID_ERROR_DEVICE, "no memory from it: %s", err.message);
    CHECK(!x, "no memory from it: %s", err.message);
    CHECK(hyb_cuda_capture_end(q, &g, &err), "%s", err.message);
    hyb_cuda_queue_destroy(q);
    hyb_cuda_queue_destroy(q2);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    if (counts) {
        emu_forgive_function forgive = NULL;
        void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD), *f = self ? dlsym(self, "emu_forgive") : NULL;
        memcpy(&forgive, &f, sizeof f);
        if (forgive) forgive();
    }
    return 0;
}

static int part_no_device(void)
{
    hybrid_device_info list[2];
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hybrid_error err;
    size_t n = 7;
    TEST("no device");
    CHECK(open_device(rt, 0, "", &cu, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(!cu, "%s", err.message);
    CHECK(strstr(err.message, "no CUDA"), "%s", err.message);
    CHECK(strstr(err.message, "libcuda"), "%s", err.message);
    CHECK(hyb_cuda_list(list, 2, &n, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(n == 0, "%s", err.message);
    hybrid_runtime_destroy(rt);
    return 0;
}

static int part_no_nvrtc(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    TEST("no NVRTC, no cuBLAS");
    CHECK(!open_device(rt, 0, "", &cu, &err) && !hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
    CHECK(hyb_cuda_can_compile(cu, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(strstr(err.message, "no NVRTC"), "%s", err.message);
    CHECK(strstr(err.message, "HYBRID_CUDA_PATH"), "%s", err.message);
    CHECK(!hyb_cuda_queue_blas(q, &err), "%s", err.message);
    CHECK(strstr(err.message, "no cuBLAS"), "%s", err.message);
    launch_add(q, BASIC, NULL, 1.0f, 4);
    CHECK(hyb_cuda_sync(q, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(strstr(err.message, "no NVRTC"), "%s", err.message);
    CHECK(!hyb_cuda_gemm(q, 2, NULL, 1, NULL, 1, 0, NULL, 1, 1, 1, 1, false), "own kernels must do it");
    hyb_cuda_queue_destroy(q);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return 0;
}

static int part_list(void)
{
    hybrid_device_info list[2];
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda_desc desc;
    hyb_cuda *cu = NULL;
    hybrid_error err;
    size_t n = 0;
    TEST("three devices");
    memset(list, 0, sizeof list);
    CHECK(!hyb_cuda_list(list, 2, &n, &err), "%s %zu", err.message, n);
    CHECK(n == 3, "%s %zu", err.message, n);
    CHECK(!strcmp(list[1].id, "cuda:1"), "%s %zu", err.message, n);
    CHECK(list[0].name[0], "%s %zu", err.message, n);
    CHECK(list[1].total_bytes >= list[1].free_bytes, "%s %zu", err.message, n);
    CHECK(list[1].free_bytes > 0, "%s %zu", err.message, n);
    CHECK(list[0].capability == 90, "%s %zu", err.message, n);
    memset(&desc, 0, sizeof desc);
    desc.device = 2;
    desc.cache.path = "";
    CHECK(!hyb_cuda_open(rt, &desc, &cu, &err), "%s", err.message);
    CHECK(cu->cc == 90, "%s", err.message);
    hyb_cuda_release(cu);
    desc.device = 3;
    CHECK(hyb_cuda_open(rt, &desc, &cu, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(!cu, "%s", err.message);
    CHECK(strstr(err.message, "device 3"), "%s", err.message);
    hybrid_runtime_destroy(rt);
    return 0;
}

static int part_ptx(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hyb_cuda_queue *q = NULL;
    hybrid_error err;
    char cache[500], line[600];
    void *x = NULL;
    float back[10];
    int i;
    TEST("a GPU that NVRTC does not know yet");
    snprintf(cache, sizeof cache, "%s/hybrid-test-ptx-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
             (long)getpid());
    for (i = 0; i < 2; i++) {
        memset(back, 0, sizeof back);
        CHECK(!open_device(rt, 0, cache, &cu, &err), "%s", err.message);
        CHECK(!hyb_cuda_queue_create(cu, &q, &err), "%s", err.message);
        CHECK(!hyb_cuda_alloc(cu, 40, &x, &err), "%s", err.message);
        hyb_cuda_zero(q, x, 40);
        launch_add(q, BASIC, x, 3.0f, 10);
        hyb_cuda_read(q, back, x, 40);
        CHECK(!hyb_cuda_sync(q, &err), "%s", err.message);
        CHECK(back[9] == 3.0f, "%s", err.message);
        CHECK(cu->jit.nvrtc.arch.ptx, "as PTX, the second time from the cache: %u", cu->jit.n_from_cache);
        CHECK(cu->jit.nvrtc.arch.number < 130, "as PTX, the second time from the cache: %u", cu->jit.n_from_cache);
        CHECK((int)cu->jit.n_from_cache == i, "as PTX, the second time from the cache: %u", cu->jit.n_from_cache);
        hyb_cuda_queue_destroy(q);
        hyb_cuda_release(cu);
    }
    snprintf(line, sizeof line, "rm -rf '%s'", cache);
    CHECK(system(line) == 0, "%s", line);
    hybrid_runtime_destroy(rt);
    return 0;
}

static int part_old(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hybrid_error err;
    TEST("a GPU that NVRTC no longer knows");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(cu->cc == 61, "%s", err.message);
    CHECK(hyb_cuda_can_compile(cu, &err) == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
    CHECK(strstr(err.message, "6.1"), "%s", err.message);
    CHECK(strstr(err.message, "older"), "%s", err.message);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return 0;
}

static int part_old_driver(void)
{
    hybrid_runtime *rt = make_runtime(NULL);
    hyb_cuda *cu = NULL;
    hybrid_error err;
    TEST("NVRTC newer than the driver");
    CHECK(!open_device(rt, 0, "", &cu, &err), "%s", err.message);
    CHECK(cu->driver.version == 12040, "%s", err.message);
    CHECK(!hyb_cuda_can_compile(cu, &err), "what it makes can be loaded: %s", err.message);
    CHECK(cu->jit.n_compiled == 1, "what it makes can be loaded: %s", err.message);
    setenv("EMU_FAIL", "cuModuleLoadData:1+:222", 1);
    CHECK(hyb_cuda_can_compile(cu, &err) == HYBRID_ERROR_UNSUPPORTED, "it cannot: %s", err.message);
    CHECK(strstr(err.message, "222"), "it cannot: %s", err.message);
    CHECK(strstr(err.message, "update the driver"), "it cannot: %s", err.message);
    unsetenv("EMU_FAIL");
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return 0;
}

static void child(const char *self, const char *environment, const char *part)
{
    char line[1500];
    int status;
    snprintf(line, sizeof line, "%s '%s' %s", environment, self, part);
    fflush(stdout);
    status = system(line);
    TEST(part);
    CHECK(status == 0, "%s: status %d", line, status);
}

/* What one thread does. */
static void test_rest(hybrid_runtime *rt, const char *self)
{
    PART(test_memory(rt));
    PART(test_copies(rt));
    PART(test_kernels(rt));
    PART(test_graphs(rt));
    PART(test_blas(rt));
    PART(test_bad_blas(rt));
    PART(test_broken_graphs(rt));
    PART(test_blas_handles(rt));
    PART(test_callbacks(rt));
    PART(test_passing_failures(rt));
    PART(test_failures());
    child(self, "", "sticky");
    if (counts) {
        char environment[1200], line[900];
        child(self, "EMU_DEVICES=0", "no_device");
        child(self, "EMU_DEVICES=3 EMU_SM=90", "list");
        child(self, "EMU_SM=130", "ptx");
        child(self, "EMU_SM=61", "old");
        child(self, "EMU_DRIVER=12040", "old_driver");
        snprintf(line, sizeof line, "mkdir '%s/driver' && cp \"$HYBRID_CUDA_PATH\"/libcuda.so.1 '%s/driver'", folder,
                 folder);
        CHECK(system(line) == 0, "%s", line);
        snprintf(environment, sizeof environment, "HYBRID_CUDA_PATH='%s/driver'", folder);
        child(self, environment, "no_nvrtc");
    }
}

/* ---- */

static bool find_emulator(hyb_cuda *cu)
{
    emu_counters_function counters = NULL;
    hyb_library_symbol(&cu->driver.library, "emu_counters", &counters);
    counts = counters ? counters() : NULL;
    return counts != NULL;
}

int main(int argc, char **argv)
{
    hybrid_runtime *rt = NULL;
    hyb_cuda *cu = NULL;
    hybrid_error err;
    counting c;
    FILE *f;
    if (!getenv("HYBRID_CUDA_PATH") && (f = fopen("build/emu/libcuda.so.1", "rb")) != NULL) {
        fclose(f);
        setenv("HYBRID_CUDA_PATH", "build/emu", 1);
    }
    if (argc > 1) {
        static const struct {
            const char *name;
            int (*run)(void);
        } parts[] = { { "sticky", part_sticky },
                      { "no_device", part_no_device },
                      { "no_nvrtc", part_no_nvrtc },
                      { "list", part_list },
                      { "ptx", part_ptx },
                      { "old", part_old },
                      { "old_driver", part_old_driver } };
        int i;
        if (strcmp(argv[1], "no_device") && strcmp(argv[1], "no_nvrtc")) {
            rt = make_runtime(NULL);
            if (!open_device(rt, 0, "", &cu, &err)) {
                find_emulator(cu);
                hyb_cuda_release(cu);
            }
            hybrid_runtime_destroy(rt);
        }
        for (i = 0; i < COUNT(parts); i++)
            if (!strcmp(argv[1], parts[i].name)) parts[i].run();
        if (check_failed) test_end();
        return check_failed != 0;
    }
    rt = make_runtime(&c);
    TEST("open");
    if (open_device(rt, 0, "", &cu, &err)) {
        CHECK(strstr(err.message, "CUDA"), "%s", err.message);
        CHECK(strlen(err.message) > 40, "%s", err.message);
        SKIP_PROCESSOR("%s (python3 tests/emu/build.py --to build/emu makes an emulator)", err.message);
        hybrid_runtime_destroy(rt);
        return test_end();
    }
    find_emulator(cu);
    hyb_cuda_retain(cu);
    hyb_cuda_release(cu);
    hyb_cuda_release(cu);
    snprintf(folder, sizeof folder, "%s/hybrid-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder)) {
        printf("cannot make a folder\n");
        return 1;
    }
    test_threads();
    test_locks();
    /* the rest is one thread's */
    if (!getenv("HYBRID_SANITIZER") || strcmp(getenv("HYBRID_SANITIZER"), "thread")) test_rest(rt, argv[0]);
    CHECK(!counts || counts->findings == 0, "findings");
    hybrid_runtime_destroy(rt);
    CHECK(c.blocks == 0, "%ld blocks of the host left", c.blocks);
    {
        char line[900];
        snprintf(line, sizeof line, "rm -rf '%s'", folder);
        CHECK(system(line) == 0, "%s", line);
    }
    return test_end();
}
