/* Check mode: kernels are compiled with -fsanitize=thread, but call these __tsan_ functions instead of the sanitizer's
 * own, so that every access to memory comes through check(). For each 4 bytes there is a cell with the last write and
 * the last read (block, thread, time) and a byte that says which of the 4 are initialised.
 *
 * Time is counted per block: it advances at each barrier and each warp sync. An access comes before another one of the
 * same block when a barrier lies between, or a warp sync within the same warp. Blocks of one launch are unordered, but
 * for the "last block sums up" pattern: the one block did an atomic operation behind a __threadfence(), by the thread
 * of the access or behind a barrier after it; the other has done an atomic operation too, by the running thread's warp
 * or before a barrier.
 *
 * Limits: one write and one read are kept per cell; shuffles order nothing (as on the device); no weak memory order. */
#include "device.h"
#include <set>
#include <sys/mman.h>
#include <vector>

bool emu_checking;

struct cell {
    uint64_t write, read;
};
/* An access in 64 bits. serial: number of the block since the start, over all launches. */
struct record {
    static uint64_t make(uint64_t serial, unsigned thread, uint64_t time, unsigned mask, unsigned flags)
    {
        return serial << 42 | (uint64_t)thread << 32 | (time & 0xffffffu) << 8 | mask << 4 | flags;
    }
    static uint64_t serial(uint64_t r) { return r >> 42; }
    static unsigned thread(uint64_t r) { return (unsigned)(r >> 32) & 1023u; }
    static uint64_t time(uint64_t r) { return r >> 8 & 0xffffffu; }
    static unsigned mask(uint64_t r) { return (unsigned)(r >> 4) & 15u; }
};
/* flags: read by several lanes, warps, blocks; an atomic operation */
enum { LANES = 1, WARPS = 2, BLOCKS = 4, ATOMIC = 8 };
/* state byte: 4 bits for 4 bytes; a cp.async is under way; see emu_forbid */
enum { INITIALISED = 15, PENDING = 16, FORBIDDEN = 32 };

struct region {
    uintptr_t base;
    uint64_t bytes;
    cell *cells;
    uint8_t *state;
    bool shared;
};
static region global_memory, static_shared, dynamic_shared;
static uintptr_t stack_base, image_base, image_end;
static uint64_t stack_bytes;
static uint64_t serial = 1, launch_serial = 1;
struct release {
    bool done;
    unsigned thread;
    uint32_t block_sync;
};
static std::vector<release> releases; /* by block of this launch: its last atomic operation behind a fence */
static bool fence_seen, atomic_seen;  /* by the running block */
static uint32_t atomic_time;          /* of its first atomic operation */
static unsigned atomic_warp;          /* of its last */
static const uint64_t MAX_SERIAL = (1u << 22) - 2;

static void *zero_pages(uint64_t bytes)
{
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "emu: no address space for check mode\n");
        abort();
    }
    return p;
}
static void resize(region *r, uintptr_t base, uint64_t bytes, bool shared)
{
    uint64_t granules = (bytes + (base & 3u) + 3) / 4 + 1;
    static std::map<region *, uint64_t> size;
    if (size[r] < granules) {
        if (r->cells) {
            munmap(r->cells, size[r] * sizeof(cell));
            munmap(r->state, size[r]);
        }
        r->cells = (cell *)zero_pages(granules * sizeof(cell));
        r->state = (uint8_t *)zero_pages(granules);
        size[r] = granules;
    }
    r->base = base & ~(uintptr_t)3;
    r->bytes = bytes + (base & 3u);
    r->shared = shared;
}

void emu_check_setup(uintptr_t base, uint64_t bytes)
{
    if (emu_checking) resize(&global_memory, base, bytes, false);
}

/* The initialised bits of a range: whole cells by memset, the ends bit by bit. */
static void set_state(uintptr_t p, uint64_t bytes)
{
    if (!emu_checking || p - global_memory.base >= global_memory.bytes) return;
    uint64_t at = p - global_memory.base, end = at + bytes;
    for (; at < end && at & 3u; at++) global_memory.state[at >> 2] |= (uint8_t)(1u << (at & 3u));
    for (uint64_t stop = at < end ? end & ~(uint64_t)3 : at; at < stop; at += 4)
        global_memory.state[at >> 2] |= INITIALISED;
    for (; at < end; at++) global_memory.state[at >> 2] |= (uint8_t)(1u << (at & 3u));
}
void emu_check_written(uintptr_t p, uint64_t bytes) { set_state(p, bytes); }
void emu_check_copied(uintptr_t to, uintptr_t from, uint64_t bytes)
{
    if (!emu_checking) return;
    uint8_t *s = global_memory.state;
    uint64_t a = to - global_memory.base, b = from - global_memory.base;
    if ((a | b | bytes) & 3u)
        set_state(to, bytes);
    else
        memmove(s + (a >> 2), s + (b >> 2), bytes >> 2);
}

/* For tests: kernels must not touch these bytes (of a larger buffer). Only whole groups of 4 at multiples of 4 are
 * kept. */
EMU_API void emu_forbid(const void *p, size_t bytes, int forbidden)
{
    uintptr_t from = ((uintptr_t)p + 3) & ~(uintptr_t)3, to = ((uintptr_t)p + bytes) & ~(uintptr_t)3;
    if (!emu_checking || from - global_memory.base >= global_memory.bytes) return;
    for (; from < to; from += 4) {
        uint8_t *s = &global_memory.state[(from - global_memory.base) >> 2];
        *s = (uint8_t)(forbidden ? *s | FORBIDDEN : *s & ~FORBIDDEN);
    }
}

/* Parameters are copied to the stack before a kernel runs: a large structure by memcpy, which comes here, too. */
static const emu_launch *running;
static bool is_parameter(uintptr_t a, uint64_t bytes)
{
    for (int i = 0; i < running->kernel->n_params; i++)
        if (a >= (uintptr_t)running->params[i] &&
            a + bytes <= (uintptr_t)running->params[i] + (uintptr_t)running->kernel->sizes[i])
            return true;
    return false;
}

void emu_check_launch(const emu_launch *launch, uintptr_t stacks, uint64_t bytes)
{
    uint64_t blocks = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z;
    running = launch;
    stack_base = stacks;
    stack_bytes = bytes;
    image_base = launch->image_base;
    image_end = launch->image_end;
    resize(&static_shared, (uintptr_t)launch->module->shared,
           (uint64_t)(launch->module->shared_end - launch->module->shared), true);
    if (serial + blocks >= MAX_SERIAL) { /* numbers have run out: forget all accesses */
        madvise(global_memory.cells, global_memory.bytes / 4 * sizeof(cell), MADV_DONTNEED);
        memset(static_shared.cells, 0, static_shared.bytes / 4 * sizeof(cell));
        if (dynamic_shared.cells) memset(dynamic_shared.cells, 0, dynamic_shared.bytes / 4 * sizeof(cell));
        serial = 1;
    }
    launch_serial = serial + 1;
    releases.assign((size_t)blocks, release{ false, 0, 0 });
}
void emu_check_block(char *dynamic, unsigned bytes)
{
    serial++;
    fence_seen = atomic_seen = false;
    resize(&dynamic_shared, (uintptr_t)dynamic, bytes, true);
    memset(dynamic_shared.state, 0, dynamic_shared.bytes / 4 + 1);
    memset(static_shared.state, 0, static_shared.bytes / 4 + 1);
}
void emu_check_fence() { fence_seen = true; }

/* Each place in the source is told once for each kind of fault. */
static bool first_time(const void *pc, int what)
{
    static std::set<std::pair<const void *, int>> told;
    return told.insert({ pc, what }).second;
}

static unsigned my_warp() { return (unsigned)emu_current >> 5; }
/* the recorded access is ordered before the running thread's next one */
static bool before_me(uint64_t r, bool shared)
{
    /* shared memory of another block is other memory */
    if (record::serial(r) < (shared ? serial : launch_serial)) return true;
    if (record::serial(r) != serial) {
        const release &x = releases[record::serial(r) - launch_serial];
        bool released =
            x.done && (record::time(r) < x.block_sync || (record::thread(r) == x.thread && !(r & (LANES | WARPS))));
        return released && !(r & BLOCKS) && atomic_seen &&
               (atomic_warp == my_warp() || emu_time.block_sync > atomic_time);
    }
    if (r & BLOCKS) return false;
    if (record::time(r) < emu_time.block_sync) return true;
    if (r & WARPS) return false;
    if (record::thread(r) >> 5 == my_warp() && record::time(r) < emu_time.warp_sync[my_warp()]) return true;
    return !(r & LANES) && record::thread(r) == (unsigned)emu_current;
}

static void tell_race(uint64_t r, const char *mine, const char *other, uintptr_t a, bool shared, const void *pc)
{
    if (!first_time(pc, 1)) return;
    char who[80];
    if (r & (LANES | WARPS | BLOCKS))
        snprintf(who, sizeof who, "several threads");
    else if (record::serial(r) == serial)
        snprintf(who, sizeof who, "thread %u (linear) of the block", record::thread(r));
    else
        snprintf(who, sizeof who, "thread %u (linear) of block %llu (linear)", record::thread(r),
                 (unsigned long long)(record::serial(r) - launch_serial));
    emu_report("race in %s memory at %p: this %s and a %s by %s, with no barrier between %s",
               shared ? "shared" : "global", (void *)a, mine, other, who, emu_source(pc).c_str());
}

static inline void touch(const region *m, uint64_t at, unsigned mask, int kind, const void *pc)
{
    cell *c = &m->cells[at >> 2];
    uint8_t *s = &m->state[at >> 2];
    uintptr_t a = m->base + at;
    const bool writes = kind != EMU_READ;
    const unsigned atomic = kind == EMU_ATOMIC_ACCESS ? ATOMIC : 0;
    if (*s & FORBIDDEN && first_time(pc, 8))
        emu_report("%s of bytes that the test has forbidden (%p) %s", writes ? "write" : "read", (void *)a,
                   emu_source(pc).c_str());
    if (kind == EMU_ASYNC_DONE) {
        *s = (uint8_t)((*s | mask) & ~PENDING);
        c->write = record::make(serial, (unsigned)emu_current, emu_time.now, mask, 0);
        return;
    }
    if (*s & PENDING && first_time(pc, 2))
        emu_report("data of a cp.async is used before cp_wait (%p) %s", (void *)a, emu_source(pc).c_str());
    if ((kind == EMU_READ || atomic) && (*s & mask) != mask && first_time(pc, 3))
        emu_report("uninitialised %s memory is read (%p) %s", m->shared ? "shared" : "global", (void *)a,
                   emu_source(pc).c_str());
    if (record::mask(c->write) & mask && !(atomic & c->write) && !before_me(c->write, m->shared))
        tell_race(c->write, writes ? "write" : "read", c->write & ATOMIC ? "atomic operation" : "write", a, m->shared,
                  pc);
    if (writes) {
        if (record::mask(c->read) & mask && !atomic && !before_me(c->read, m->shared))
            tell_race(c->read, "write", "read", a, m->shared, pc);
        c->write = record::make(serial, (unsigned)emu_current, emu_time.now, mask, atomic);
        *s = (uint8_t)(*s | (kind == EMU_ASYNC_WRITE ? (unsigned)PENDING : mask));
    } else {
        uint64_t r = c->read, mine = record::make(serial, (unsigned)emu_current, emu_time.now, mask, 0);
        if (r && !before_me(r, m->shared)) { /* another reader: remember that there are several */
            mine |= r & (0xf0u | LANES | WARPS | BLOCKS);
            if (record::serial(r) != serial)
                mine |= BLOCKS;
            else
                mine |= record::thread(r) >> 5 == my_warp() ? LANES : WARPS;
        }
        c->read = mine;
    }
}

static void check(uintptr_t a, uint64_t bytes, int kind, const void *pc)
{
    const region *m;
    if (a - (uintptr_t)&emu_now < sizeof emu_now) return;
    if (a - global_memory.base < global_memory.bytes) {
        if (!emu_inside(a, bytes)) {
            emu_report("%s of %llu bytes at %p: %s %s", kind == EMU_READ ? "read" : "write", (unsigned long long)bytes,
                       (void *)a, emu_about(a).c_str(), emu_source(pc).c_str());
            emu_stop(700);
        }
        m = &global_memory;
    } else if (a - stack_base < stack_bytes) {
        if (!emu_own_stack(a) && first_time(pc, 4))
            emu_report("local memory of another thread is used (%p) %s", (void *)a, emu_source(pc).c_str());
        return;
    } else if (a - static_shared.base < static_shared.bytes)
        m = &static_shared;
    else if (a - dynamic_shared.base < dynamic_shared.bytes)
        m = &dynamic_shared;
    else if (a >= image_base && a < image_end)
        return; /* constants and __device__ variables of the module */
    else if (emu_mapped_host(a) || is_parameter(a, bytes))
        return;
    else {
        emu_report("illegal address %p: neither device memory nor shared memory of this launch (%u bytes of dynamic "
                   "shared memory) %s",
                   (void *)a, (unsigned)dynamic_shared.bytes, emu_source(pc).c_str());
        emu_stop(700);
    }
    uint64_t at = a - m->base;
    if (at + bytes > m->bytes) {
        emu_report("%s of %llu bytes at %p runs over the end of memory %s", kind == EMU_READ ? "read" : "write",
                   (unsigned long long)bytes, (void *)a, emu_source(pc).c_str());
        emu_stop(700);
    }
    const bool ticket = kind == EMU_ATOMIC_ACCESS && m == &global_memory;
    if (ticket && fence_seen)
        releases[serial - launch_serial] = release{ true, (unsigned)emu_current, emu_time.block_sync };
    if (ticket && !atomic_seen) atomic_time = emu_time.now;
    if (ticket) {
        atomic_seen = true;
        atomic_warp = my_warp();
    }
    for (uint64_t end = at + bytes; at < end;) {
        unsigned from = (unsigned)(at & 3u), n = (unsigned)(end - at < 4 - from ? end - at : 4 - from);
        touch(m, at, ((1u << n) - 1u) << from, kind, pc);
        at += n;
    }
}
void emu_check_access(const void *p, int bytes, int kind, const void *pc)
{
    check((uintptr_t)p, (uint64_t)bytes, kind, pc);
}

/* ---- what instrumented code calls -------------------------------------------------------------------------------- */
static inline void aligned(uintptr_t p, unsigned n, int kind, const void *pc)
{
    if (p & (n - 1) && first_time(pc, 7))
        emu_report("misaligned: %u bytes at %p %s", n, (void *)p, emu_source(pc).c_str());
    check(p, n, kind, pc);
}
#define HERE __builtin_return_address(0)
#define ACCESS(n) \
    EMU_API void __tsan_read##n(void *p) { aligned((uintptr_t)p, n, EMU_READ, HERE); } \
    EMU_API void __tsan_write##n(void *p) { aligned((uintptr_t)p, n, EMU_WRITE, HERE); } \
    EMU_API void __tsan_read_write##n(void *p) \
    { \
        check((uintptr_t)p, n, EMU_READ, HERE); \
        check((uintptr_t)p, n, EMU_WRITE, HERE); \
    } \
    EMU_API void __tsan_volatile_read##n(void *p) { check((uintptr_t)p, n, EMU_READ, HERE); } \
    EMU_API void __tsan_volatile_write##n(void *p) { check((uintptr_t)p, n, EMU_WRITE, HERE); } \
    EMU_API void __tsan_unaligned_read##n(void *p) { check((uintptr_t)p, n, EMU_READ, HERE); } \
    EMU_API void __tsan_unaligned_write##n(void *p) { check((uintptr_t)p, n, EMU_WRITE, HERE); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16) EMU_API void __tsan_read_range(void *p, unsigned long n)
{
    check((uintptr_t)p, n, EMU_READ, HERE);
}
EMU_API void __tsan_write_range(void *p, unsigned long n) { check((uintptr_t)p, n, EMU_WRITE, HERE); }
EMU_API void __tsan_func_entry(void *) {}
EMU_API void __tsan_func_exit() {}
EMU_API void __tsan_init() {}
EMU_API void __tsan_vptr_update(void **, void *) {}
EMU_API void __tsan_vptr_read(void **) {}

static void *moved(void *to, const void *from, size_t n, const void *pc)
{
    if (n) {
        check((uintptr_t)from, n, EMU_READ, pc);
        check((uintptr_t)to, n, EMU_WRITE, pc);
    }
    return memmove(to, from, n);
}
static void *filled(void *to, int value, size_t n, const void *pc)
{
    if (n) check((uintptr_t)to, n, EMU_WRITE, pc);
    return memset(to, value, n);
}
/* Older compilers call plain memcpy for copies of structures: the linker sends those here (--wrap). */
EMU_API void *__tsan_memcpy(void *to, const void *from, size_t n) { return moved(to, from, n, HERE); }
EMU_API void *__tsan_memmove(void *to, const void *from, size_t n) { return moved(to, from, n, HERE); }
EMU_API void *__tsan_memset(void *to, int value, size_t n) { return filled(to, value, n, HERE); }
EMU_API void *__wrap_memcpy(void *to, const void *from, size_t n) { return moved(to, from, n, HERE); }
EMU_API void *__wrap_memmove(void *to, const void *from, size_t n) { return moved(to, from, n, HERE); }
EMU_API void *__wrap_memset(void *to, int value, size_t n) { return filled(to, value, n, HERE); }

/* -fsanitize=alignment,bounds: the same trick with the handlers of the undefined-behaviour sanitizer */
struct source_location {
    const char *file;
    uint32_t line, column;
};
struct type_description {
    uint16_t kind, info;
    char name[1];
};
struct mismatch_data {
    source_location at;
    const type_description *type;
    unsigned char log_alignment, kind;
};
struct bounds_data {
    source_location at;
    const type_description *array, *index;
};
EMU_API void __ubsan_handle_type_mismatch_v1(mismatch_data *d, uintptr_t p)
{
    if (first_time(d, 5))
        emu_report("misaligned: %p is used as %s, which needs an alignment of %u, at %s:%u", (void *)p, d->type->name,
                   1u << d->log_alignment, d->at.file, d->at.line);
}
EMU_API void __ubsan_handle_out_of_bounds(bounds_data *d, uintptr_t index)
{
    if (first_time(d, 6))
        emu_report("out of bounds: index %lld of %s at %s:%u", (long long)index, d->array->name, d->at.file,
                   d->at.line);
}
EMU_API void __ubsan_handle_type_mismatch_v1_abort(mismatch_data *d, uintptr_t p)
{
    __ubsan_handle_type_mismatch_v1(d, p);
    emu_stop(716);
}
EMU_API void __ubsan_handle_out_of_bounds_abort(bounds_data *d, uintptr_t i)
{
    __ubsan_handle_out_of_bounds(d, i);
    emu_stop(700);
}
