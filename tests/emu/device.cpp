/* Blocks of threads on one host thread. Each device thread that has to wait keeps its own stack (a fiber); a thread
 * that never waits runs as a plain call and leaves the stack to the next one. Blocks run one after another.
 *
 * Scheduling is by bit masks: a warp knows which of its lanes are unstarted, ready and live; the running warp goes on
 * as long as it can, then the next ready one. So every thread runs ahead up to its next barrier or collective, on
 * memory filled with NaN: what is missing a barrier shows. EMU_ORDER=lifo starts from the last thread and the last
 * block instead. */
#include "device.h"
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>
#if !defined(__x86_64__) && !defined(__aarch64__)
    #include <ucontext.h>
    #define EMU_UCONTEXT 1
#endif

extern "C" {
__attribute__((visibility("default"))) emu_state emu_now;
}
emu_clock emu_time;

/* ---- switching stacks: saves what a function call must keep, on the stack itself --------------------------------- */
#ifdef EMU_UCONTEXT
struct fiber_point {
    ucontext_t *context;
};
#else
typedef void *fiber_point; /* the stack pointer */
extern "C" void emu_switch(fiber_point *save, fiber_point load);
    #if defined(__x86_64__)
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\nemu_switch:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp,(%rdi)\n  mov %rsi,%rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n  ret\n");
enum { SAVED_WORDS = 7, ENTRY_WORD = 6 };
    #else
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,%function\nemu_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
        "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x2, sp\n  str x2, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
        "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n  ret\n");
enum { SAVED_WORDS = 20, ENTRY_WORD = 11 };
    #endif
#endif

enum { MAX_THREADS = 1024, STACK_BYTES = 256 * 1024, GUARD = 65536, SLOTS = 8, SHARED_MAX = 256 * 1024 };

struct copy {
    char *to;
    const char *from;
    int bytes, group;
    bool done;
};
struct lane_state {
    fiber_point at; /* where it waits */
    int stack;      /* which stack it waits on */
    int line;       /* of the barrier or collective that it waits in */
    int groups;     /* cp.async groups committed */
    std::vector<copy> copies;
};
/* one call for the whole warp; lane[i] = the record of lane i */
typedef void (*collective)(void **lane, unsigned present);
struct slot {
    unsigned mask, arrived;
    collective run;
    int line;
    void *record[32];
};
struct warp_state {
    unsigned unstarted, ready, live, at_barrier;
    int n_slots;      /* in use */
    unsigned meeting; /* lanes that have come to a shuffle of the whole warp */
    unsigned turn;    /* 0, 1: which of the two sets of values is being filled */
    unsigned value[2][32], present[2];
    slot slots[SLOTS];
};
static lane_state lanes[MAX_THREADS];
static emu_uint3 place[MAX_THREADS]; /* threadIdx of each linear thread */
static warp_state warps[32];
static unsigned ready_warps; /* bit: the warp has a lane to start or to resume */
static int n_threads, n_live, n_waiting, barrier_line, n_divergent;
int emu_current;
#define current emu_current
static const emu_launch *now;
static bool lifo, eager;

/* ---- stacks ------------------------------------------------------------------------------------------------------ */
static char *stacks;
static std::vector<int> free_stacks;
static fiber_point host_point;
static sigjmp_buf host_return;

static char *stack_bottom(int i) { return stacks + (size_t)i * (STACK_BYTES + GUARD) + GUARD; }

static void fiber_main();
static fiber_point fresh_point(int i)
{
    /* tops are staggered, else the same variable of all threads would fall in one cache set */
    char *top = stack_bottom(i) + STACK_BYTES - 256 - 64 * (i % 61);
#ifdef EMU_UCONTEXT
    static ucontext_t contexts[MAX_THREADS];
    ucontext_t *c = &contexts[i];
    getcontext(c);
    c->uc_stack.ss_sp = stack_bottom(i);
    c->uc_stack.ss_size = (size_t)(top - stack_bottom(i));
    makecontext(c, fiber_main, 0);
    return fiber_point{ c };
#else
    /* at entry as if called: return address slot above */
    void **sp = (void **)((uintptr_t)top & ~(uintptr_t)63) - SAVED_WORDS - 1;
    #if defined(__aarch64__)
    sp = (void **)((uintptr_t)sp & ~(uintptr_t)15);
    #endif
    memset(sp, 0, (SAVED_WORDS + 1) * sizeof *sp);
    sp[ENTRY_WORD] = (void *)fiber_main;
    return sp;
#endif
}

bool emu_own_stack(uintptr_t p)
{
    return (p - (uintptr_t)stacks) / (STACK_BYTES + GUARD) == (uintptr_t)lanes[current].stack;
}

static void change(fiber_point *save, fiber_point load)
{
#ifdef EMU_UCONTEXT
    ucontext_t here;
    save->context = &here;
    swapcontext(&here, load.context);
#else
    emu_switch(save, load);
#endif
}

static std::string line_text(int line);

/* ---- the scheduler ----------------------------------------------------------------------------------------------- */
static inline int first_of(unsigned mask) { return lifo ? 31 - __builtin_clz(mask) : __builtin_ctz(mask); }

static inline void become(int t)
{
    current = t;
    emu_now.thread = place[t];
    emu_now.lane = (unsigned)t & 31u;
}

/* The next thread to go on with: >= 0 a waiting one, ~t an unstarted one; -MAX_THREADS-1: none. */
static inline int choose()
{
    int w = current >> 5;
    if (!(ready_warps >> w & 1u)) {
        if (!ready_warps) return -MAX_THREADS - 1;
        w = first_of(ready_warps);
    }
    warp_state *x = &warps[w];
    unsigned pool = x->ready ? x->ready : x->unstarted;
    int i = first_of(pool), t = w * 32 + i;
    if (x->ready)
        x->ready &= ~(1u << i);
    else {
        x->unstarted &= ~(1u << i);
        t = ~t;
    }
    if (!(x->ready | x->unstarted)) ready_warps &= ~(1u << w);
    return t;
}

/* the running thread waits; comes back when made ready and chosen */
static inline __attribute__((always_inline)) void wait_here(int line)
{
    lane_state *me = &lanes[current];
    int t = choose();
    me->line = line;
    if (t >= 0) {
        become(t);
        change(&me->at, lanes[t].at);
    } else if (t >= -MAX_THREADS) {
        int stack = free_stacks.back();
        free_stacks.pop_back();
        become(~t);
        lanes[~t].stack = stack;
        change(&me->at, fresh_point(stack));
    } else
        change(&me->at, host_point); /* nobody can go on: a deadlock, told by the host side */
}

static void complete(warp_state *w, int s);
static void end_meeting(warp_state *w);
static void release_barrier();

static void thread_ends()
{
    int lane = current & 31;
    warp_state *w = &warps[current >> 5];
    w->live &= ~(1u << lane);
    n_live--;
    if (lanes[current].groups || !lanes[current].copies.empty()) {
        lanes[current].copies.clear();
        lanes[current].groups = 0;
    }
    for (int s = w->n_slots; s-- > 0;) /* whoever waited for this lane only, goes on */
        if ((w->slots[s].mask & w->live) == w->slots[s].arrived) complete(w, s);
    if (w->meeting && w->meeting == w->live) end_meeting(w);
    if (n_live && n_waiting == n_live) release_barrier();
}

static void fiber_main()
{
    for (;;) {
        int stack = lanes[current].stack;
        now->kernel->call(now->params);
        thread_ends();
        int t = choose();
        if (t < 0 && t >= -MAX_THREADS) {
            become(~t);
            lanes[~t].stack = stack;
            continue;
        }
        free_stacks.push_back(stack);
        fiber_point unused;
        if (t >= 0) {
            become(t);
            change(&unused, lanes[t].at);
        } else
            change(&unused, host_point);
        abort();
    }
}

/* ---- barriers ---------------------------------------------------------------------------------------------------- */
static void release_barrier()
{
    if (n_divergent && emu_checking)
        emu_report("divergent barrier: threads of one block met in different __syncthreads(): %s and others",
                   line_text(barrier_line).c_str());
    n_divergent = 0;
    barrier_line = 0;
    n_waiting = 0;
    emu_time.block_sync = ++emu_time.now;
    for (int w = 0; w * 32 < n_threads; w++)
        if (warps[w].at_barrier) {
            warps[w].ready |= warps[w].at_barrier;
            warps[w].at_barrier = 0;
            ready_warps |= 1u << w;
        }
}

EMU_API void emu_block_sync(int line)
{
    warp_state *w = &warps[current >> 5];
    unsigned bit = 1u << (current & 31);
    if (!barrier_line)
        barrier_line = line;
    else if (barrier_line != line)
        n_divergent++;
    if (++n_waiting == n_live) {
        release_barrier();
        return;
    }
    w->at_barrier |= bit;
    wait_here(line);
}

/* ---- warp collectives -------------------------------------------------------------------------------------------- */
static void complete(warp_state *w, int s)
{
    slot *x = &w->slots[s];
    unsigned arrived = x->arrived;
    x->run(x->record, arrived);
    w->slots[s] = w->slots[--w->n_slots];
    w->ready |= arrived & w->live;
    if (w->ready) ready_warps |= 1u << (w - warps);
}

static void stop_mixed(int one, int other)
{
    emu_report("lanes of one warp meet in different warp functions: %s and %s", line_text(one).c_str(),
               line_text(other).c_str());
    emu_stop(719);
}

static void collect(unsigned mask, collective run, void *record, int line)
{
    warp_state *w = &warps[current >> 5];
    unsigned bit = 1u << (current & 31);
    if (w->meeting && mask == 0xffffffffu) stop_mixed(lanes[(current & ~31) + __builtin_ctz(w->meeting)].line, line);
    if (!(mask & bit)) {
        emu_report("the mask %08x of a warp function leaves out the calling lane: %s", mask, line_text(line).c_str());
        emu_stop(719);
    }
    int s = 0;
    while (s < w->n_slots && w->slots[s].mask != mask) s++;
    if (s == w->n_slots) {
        if (s == SLOTS) {
            emu_report("too many different masks wait in one warp: %s", line_text(line).c_str());
            emu_stop(719);
        }
        w->n_slots++;
        w->slots[s].mask = mask;
        w->slots[s].arrived = 0;
        w->slots[s].run = run;
        w->slots[s].line = line;
    }
    slot *x = &w->slots[s];
    if (x->run != run) stop_mixed(x->line, line);
    x->record[current & 31] = record;
    x->arrived |= bit;
    if (x->arrived == (mask & w->live)) {
        complete(w, s);
        w->ready &= ~bit; /* the last to arrive simply goes on */
        if (!(w->ready | w->unstarted)) ready_warps &= ~(1u << (w - warps));
        return;
    }
    wait_here(line);
}

static void run_warp_sync(void **, unsigned) { emu_time.warp_sync[current >> 5] = ++emu_time.now; }
EMU_API void emu_warp_sync(unsigned mask, int line) { collect(mask, run_warp_sync, nullptr, line); }

/* Shuffles are the most frequent of all, so those of the whole warp go without records: each lane leaves its value in
 * the warp, and takes the one that it wants when all have come. Two sets: a lane may be at the next shuffle before
 * all have taken. */
static void end_meeting(warp_state *w)
{
    w->present[w->turn] = w->meeting;
    w->turn ^= 1u;
    w->ready |= w->meeting;
    w->meeting = 0;
    if (w->ready) ready_warps |= 1u << (w - warps);
}
static unsigned absent_lane(int source, int line)
{
    if (emu_checking)
        emu_report("a shuffle reads from lane %d, which has left the kernel or is not in the mask: %s", source,
                   line_text(line).c_str());
    return 0xffffffffu;
}
struct shuffle_record {
    unsigned value, present, all[32];
};
static void run_shuffle(void **lane, unsigned present)
{
    for (unsigned m = present; m; m &= m - 1) {
        shuffle_record *r = (shuffle_record *)lane[__builtin_ctz(m)];
        r->present = present;
        for (unsigned n = present; n; n &= n - 1)
            r->all[__builtin_ctz(n)] = ((shuffle_record *)lane[__builtin_ctz(n)])->value;
    }
}
EMU_API unsigned emu_shuffle(unsigned value, int source, unsigned mask, int line)
{
    source &= 31;
    if (mask != 0xffffffffu) {
        shuffle_record r;
        r.value = value;
        collect(mask, run_shuffle, &r, line);
        return r.present >> source & 1u ? r.all[source] : absent_lane(source, line);
    }
    warp_state *w = &warps[current >> 5];
    unsigned bit = 1u << (current & 31), turn = w->turn;
    for (int s = 0; s < w->n_slots; s++)
        if (w->slots[s].mask == mask) stop_mixed(w->slots[s].line, line);
    w->value[turn][current & 31] = value;
    w->meeting |= bit;
    if (w->meeting == w->live) {
        end_meeting(w);
        w->ready &= ~bit; /* the last to come goes on */
        if (!(w->ready | w->unstarted)) ready_warps &= ~(1u << (w - warps));
    } else
        wait_here(line);
    return w->present[turn] >> source & 1u ? w->value[turn][source] : absent_lane(source, line);
}

struct gather_record {
    unsigned value, present, *out;
};
static void run_gather(void **lane, unsigned present)
{
    unsigned all[32] = { 0 };
    for (int i = 0; i < 32; i++)
        if (present >> i & 1u) all[i] = ((gather_record *)lane[i])->value;
    for (int i = 0; i < 32; i++)
        if (present >> i & 1u) {
            gather_record *r = (gather_record *)lane[i];
            memcpy(r->out, all, sizeof all);
            r->present = present;
        }
}
EMU_API unsigned emu_gather(unsigned value, unsigned out[32], unsigned mask, int line)
{
    gather_record r = { value, 0, out };
    collect(mask, run_gather, &r, line);
    return r.present;
}

/* ---- tensor cores. Layouts from the PTX ISA, "Matrix Fragments for mma.m16n8k16 / m16n8k32": with group = lane / 4
 * and t = lane % 4, register element i of a lane is
 *   A 16-bit: row group (+8 for i = 2,3,6,7), column 2 t + (i & 1) (+8 for i >= 4)
 *   A 8-bit:  row group (+8 for i & 4), column 4 t + (i & 3) (+16 for i >= 8)
 *   B 16-bit: row 2 t + (i & 1) (+8 for i >= 2), column group
 *   B 8-bit:  row 4 t + (i & 3) (+16 for i >= 4), column group
 *   C, D:     row group (+8 for i >= 2), column 2 t + (i & 1) ---- */
struct mma_record {
    void *d;
    const unsigned *a, *b;
    int line;
};

static bool whole_warp(unsigned present, int line, const char *what)
{
    if (present == 0xffffffffu) return true;
    emu_report("%s with lanes %08x only (all 32 must take part): %s", what, present, line_text(line).c_str());
    return false;
}

static float half_value(unsigned h)
{
    unsigned exponent = h >> 10 & 31u, m = h & 0x3ffu, u;
    float f;
    if (exponent == 0)
        f = (float)m * 0x1p-24f;
    else {
        u = (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | m << 13;
        memcpy(&f, &u, 4);
    }
    return h & 0x8000u ? -f : f;
}
static float bf16_value(unsigned h)
{
    unsigned u = h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* n 16-bit values of kind 0 (half) or 1 (bf16) */
template <int KIND> static void widen(float *to, const unsigned short *from, int n)
{
#ifdef __F16C__
    typedef short eight __attribute__((vector_size(16)));
    if (!KIND) {
        for (int i = 0; i < n; i += 8) {
            eight x;
            memcpy(&x, from + i, 16);
            auto y = __builtin_ia32_vcvtph2ps256(x);
            memcpy(to + i, &y, 32);
        }
        return;
    }
#endif
    for (int i = 0; i < n; i++) to[i] = KIND ? bf16_value(from[i]) : half_value(from[i]);
}

template <int KIND> static void run_mma16(void **lane, unsigned present)
{
    unsigned a32[16][8], b32[8][8]; /* pairs of neighbours along k; b by columns */
    float a[16][16], columns[8][16], b[16][8], d[16][8];
    if (!whole_warp(present, ((mma_record *)lane[__builtin_ctz(present)])->line, "mma")) return;
    for (int l = 0; l < 32; l++) {
        const mma_record *r = (mma_record *)lane[l];
        int g = l >> 2, t = l & 3;
        for (int i = 0; i < 4; i++) a32[g + (i & 1 ? 8 : 0)][t + (i & 2 ? 4 : 0)] = r->a[i];
        for (int i = 0; i < 2; i++) b32[g][t + 4 * i] = r->b[i];
        for (int i = 0; i < 4; i++) d[g + (i & 2 ? 8 : 0)][2 * t + (i & 1)] = ((float *)r->d)[i];
    }
    widen<KIND>(a[0], (const unsigned short *)a32, 256);
    widen<KIND>(columns[0], (const unsigned short *)b32, 128);
    for (int k = 0; k < 16; k++)
        for (int j = 0; j < 8; j++) b[k][j] = columns[j][k];
    for (int i = 0; i < 16; i++) {
        float sum[8];
        for (int j = 0; j < 8; j++) sum[j] = d[i][j];
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) sum[j] += a[i][k] * b[k][j];
        for (int j = 0; j < 8; j++) d[i][j] = sum[j];
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            ((float *)((mma_record *)lane[l])->d)[i] = d[(l >> 2) + (i & 2 ? 8 : 0)][2 * (l & 3) + (i & 1)];
}

static void run_mma8(void **lane, unsigned present)
{
    int a[16][32], b[32][8], d[16][8];
    if (!whole_warp(present, ((mma_record *)lane[__builtin_ctz(present)])->line, "mma")) return;
    for (int l = 0; l < 32; l++) {
        const mma_record *r = (mma_record *)lane[l];
        int g = l >> 2, t = l & 3;
        for (int i = 0; i < 16; i++)
            a[g + (i & 4 ? 8 : 0)][4 * t + (i & 3) + (i & 8 ? 16 : 0)] = (signed char)(r->a[i >> 2] >> 8 * (i & 3));
        for (int i = 0; i < 8; i++)
            b[4 * t + (i & 3) + (i & 4 ? 16 : 0)][g] = (signed char)(r->b[i >> 2] >> 8 * (i & 3));
        for (int i = 0; i < 4; i++) d[g + (i & 2 ? 8 : 0)][2 * t + (i & 1)] = ((int *)r->d)[i];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 32; k++)
            for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            ((int *)((mma_record *)lane[l])->d)[i] = d[(l >> 2) + (i & 2 ? 8 : 0)][2 * (l & 3) + (i & 1)];
}

EMU_API void emu_mma(int kind, void *d, const unsigned *a, const unsigned *b, int line)
{
    mma_record r = { d, a, b, line };
    collect(0xffffffffu, kind == 0 ? run_mma16<0> : kind == 1 ? run_mma16<1> : run_mma8, &r, line);
}

/* ldmatrix: lanes 8 m .. 8 m + 7 give the addresses of the 8 rows (16 bytes each) of matrix m; register m of lane l
 * gets elements 2 (l % 4) and the next of row l / 4, or transposed: element l / 4 of rows 2 (l % 4) and the next. */
struct ldmatrix_record {
    unsigned *r;
    const unsigned short *row;
    int line;
    const void *pc;
};
template <int N, bool TRANSPOSED> static void run_ldmatrix(void **lane, unsigned present)
{
    if (!whole_warp(present, ((ldmatrix_record *)lane[__builtin_ctz(present)])->line, "ldmatrix")) return;
    unsigned short m[N][8][8];
    for (int l = 0; l < 8 * N; l++) {
        const ldmatrix_record *r = (ldmatrix_record *)lane[l];
        if ((uintptr_t)r->row & 15u) {
            emu_report("misaligned: ldmatrix of the row %p, which is not at a multiple of 16 (lane %d): %s",
                       (const void *)r->row, l, line_text(r->line).c_str());
            emu_stop(716);
        }
        if (emu_checking) {
            int saved = current;
            current = (saved & ~31) + l;
            emu_check_access(r->row, 16, EMU_READ, r->pc);
            current = saved;
        }
        memcpy(m[l >> 3][l & 7], r->row, 16);
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < N; i++) {
            int g = l >> 2, c = 2 * (l & 3);
            unsigned lo = TRANSPOSED ? m[i][c][g] : m[i][g][c], hi = TRANSPOSED ? m[i][c + 1][g] : m[i][g][c + 1];
            ((ldmatrix_record *)lane[l])->r[i] = lo | hi << 16;
        }
}
EMU_API void emu_ldmatrix(unsigned *r, const void *row, int n, int transposed, int line)
{
    ldmatrix_record x = { r, (const unsigned short *)row, line, __builtin_return_address(0) };
    collect(0xffffffffu,
            n == 4 ? (transposed ? run_ldmatrix<4, true> : run_ldmatrix<4, false>)
                   : (transposed ? run_ldmatrix<2, true> : run_ldmatrix<2, false>),
            &x, line);
}

/* ---- asynchronous copies: done as late as allowed (at the wait), or at once in the reordered mode ---------------- */
static void move_bytes(const copy &c)
{
    if (c.from)
        memcpy(c.to, c.from, (size_t)c.bytes);
    else
        memset(c.to, 0, (size_t)c.bytes);
}
static void finish_copy(const copy &c)
{
    if (emu_checking) emu_check_access(c.to, c.bytes, EMU_ASYNC_DONE, nullptr);
    if (!c.done) move_bytes(c);
}
EMU_API void emu_cp_async(void *shared, const void *global, int bytes, int valid)
{
    const void *pc = __builtin_return_address(0);
    if ((uintptr_t)shared % (unsigned)bytes || (valid && (uintptr_t)global % (unsigned)bytes)) {
        emu_report("cp.async with an address that is not %d-byte aligned %s", bytes, emu_source(pc).c_str());
        emu_stop(716);
    }
    if (emu_checking) {
        if (valid) emu_check_access(global, bytes, EMU_READ, pc);
        emu_check_access(shared, bytes, EMU_ASYNC_WRITE, pc);
    }
    copy c = { (char *)shared, valid ? (const char *)global : nullptr, bytes, lanes[current].groups, eager };
    if (eager) move_bytes(c);
    if (!eager || emu_checking) lanes[current].copies.push_back(c);
}
EMU_API void emu_cp_commit() { lanes[current].groups++; }
EMU_API void emu_cp_wait(int groups_left)
{
    lane_state *me = &lanes[current];
    size_t n = 0;
    while (n < me->copies.size() && me->copies[n].group < me->groups - groups_left) finish_copy(me->copies[n++]);
    me->copies.erase(me->copies.begin(), me->copies.begin() + (long)n);
}

EMU_API void emu_fence() { emu_check_fence(); }
EMU_API void emu_atomic(const void *p, int bytes)
{
    if ((uintptr_t)p % (unsigned)bytes) {
        emu_report("atomic operation on an address that is not %d-byte aligned", bytes);
        emu_stop(716);
    }
    if (emu_checking) emu_check_access(p, bytes, EMU_ATOMIC_ACCESS, __builtin_return_address(0));
}
EMU_API void emu_misaligned(const void *p, int alignment, int line)
{
    emu_report("misaligned: %p is used as a vector that needs an alignment of %d, in %s", p, alignment,
               line_text(line).c_str());
    emu_stop(716);
}
EMU_API void emu_trap(const char *text, int line)
{
    emu_report("%s in %s", text, line_text(line).c_str());
    emu_stop(715);
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */
const char *emu_where()
{
    static char text[256];
    if (!now) return "outside of a kernel";
    snprintf(text, sizeof text, "kernel %s<<<(%u,%u,%u),(%u,%u,%u)>>>, block (%u,%u,%u), thread (%u,%u,%u)",
             now->kernel->name, now->grid.x, now->grid.y, now->grid.z, now->block.x, now->block.y, now->block.z,
             emu_now.block.x, emu_now.block.y, emu_now.block.z, emu_now.thread.x, emu_now.thread.y, emu_now.thread.z);
    return text;
}

std::string emu_line(int line)
{
    const char *s = now ? now->module->text : nullptr;
    for (int i = 1; s && i < line; i++) {
        s = strchr(s, '\n');
        if (s) s++;
    }
    if (!s) return "";
    while (*s == ' ') s++;
    std::string text(s, strcspn(s, "\n"));
    return text.size() > 160 ? text.substr(0, 160) + "..." : text;
}
static std::string line_text(int line) { return "line " + std::to_string(line) + " (" + emu_line(line) + ")"; }

void emu_stop(int result) { siglongjmp(host_return, result); }

static void tell_deadlock()
{
    int at_barrier = 0, in_warp = 0;
    std::string text;
    for (int t = 0; t < n_threads; t++) {
        warp_state *w = &warps[t >> 5];
        unsigned bit = 1u << (t & 31);
        if (!(w->live & bit)) continue;
        bool barrier = w->at_barrier & bit;
        (barrier ? at_barrier : in_warp)++;
        if ((barrier ? at_barrier : in_warp) <= 4) {
            char thread[64];
            snprintf(thread, sizeof thread, "\n  emu:   thread (%u,%u,%u) waits in ", place[t].x, place[t].y,
                     place[t].z);
            text += thread + line_text(lanes[t].line);
        }
    }
    emu_report("deadlock: %d threads wait in a block barrier, %d in a warp function, %d have left%s", at_barrier,
               in_warp, n_threads - n_live, text.c_str());
}

/* ---- faults: a touched guard page, a wild address, a stack that ran over ----------------------------------------- */
static volatile bool running;
static pthread_t runner; /* the host thread that runs the kernel: faults of others are theirs */
static const int fault_signals[4] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
static struct sigaction others[4];
static void on_fault(int number, siginfo_t *info, void *context)
{
    if (!running || !pthread_equal(runner, pthread_self())) { /* not ours: as if this handler were not there */
        for (int i = 0; i < 4; i++)
            if (fault_signals[i] == number) sigaction(number, &others[i], nullptr);
        return;
    }
    running = false;
    uintptr_t address = (uintptr_t)info->si_addr;
    void *pc = nullptr;
#if defined(__x86_64__) && defined(__linux__)
    pc = (void *)((ucontext_t *)context)->uc_mcontext.gregs[16 /* REG_RIP */];
#elif defined(__aarch64__) && defined(__linux__)
    pc = (void *)((ucontext_t *)context)->uc_mcontext.pc;
#endif
    (void)context;
    std::string at = emu_source((const char *)pc + 1);
    if (number == SIGFPE)
        emu_report("integer division by zero %s", at.c_str());
    else if (number == SIGILL)
        emu_report("undefined behaviour: the compiler found this place unreachable %s", at.c_str());
    else if (address - (uintptr_t)stacks < (uintptr_t)MAX_THREADS * (STACK_BYTES + GUARD))
        emu_report("the stack of a thread ran over (%d KiB) %s", STACK_BYTES / 1024, at.c_str());
    else if (!address)
        emu_report("misaligned access of a vector type, or a wild address %s", at.c_str());
    else
        emu_report("illegal address %p: %s %s", info->si_addr, emu_about(address).c_str(), at.c_str());
    siglongjmp(host_return, 700);
}
static void faults(bool on)
{
    static thread_local char *alternative;
    if (!alternative) {
        stack_t s;
        memset(&s, 0, sizeof s);
        s.ss_sp = alternative =
            (char *)mmap(nullptr, 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        s.ss_size = 262144;
        sigaltstack(&s, nullptr);
    }
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = on_fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 4; i++)
        if (on)
            sigaction(fault_signals[i], &a, &others[i]);
        else
            sigaction(fault_signals[i], &others[i], nullptr);
    runner = pthread_self();
    running = on;
}

/* ---- a launch ---------------------------------------------------------------------------------------------------- */
static char *shared_end; /* dynamic shared memory ends here, before a guard page */

static void setup()
{
    if (stacks) return;
    stacks = (char *)mmap(nullptr, (size_t)MAX_THREADS * (STACK_BYTES + GUARD), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *s = (char *)mmap(nullptr, SHARED_MAX + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED || s == MAP_FAILED) {
        fprintf(stderr, "emu: no memory for the stacks of threads\n");
        abort();
    }
    for (int i = 0; i < MAX_THREADS; i++) mprotect(stack_bottom(i) - GUARD, GUARD, PROT_NONE);
    shared_end = s + SHARED_MAX;
    mprotect(shared_end, GUARD, PROT_NONE);
}

static void start_block()
{
    n_live = n_threads;
    n_waiting = n_divergent = barrier_line = 0;
    ready_warps = 0;
    for (int w = 0; w * 32 < n_threads; w++) {
        int n = n_threads - w * 32;
        warps[w].live = warps[w].unstarted = n >= 32 ? 0xffffffffu : (1u << n) - 1u;
        warps[w].ready = warps[w].at_barrier = 0;
        warps[w].n_slots = 0;
        warps[w].meeting = 0;
        ready_warps |= 1u << w;
    }
    unsigned bytes = now->dynamic_bytes;
    if (bytes) memset(emu_now.dynamic, 0xff, bytes);
    memset(now->module->shared, 0xff, (size_t)(now->module->shared_end - now->module->shared));
    emu_time.now = 1;
    emu_time.block_sync = 0;
    memset(emu_time.warp_sync, 0, sizeof emu_time.warp_sync);
    if (emu_checking) emu_check_block(emu_now.dynamic, bytes);
}

static bool run_block()
{
    start_block();
    current = lifo ? n_threads - 1 : 0;
    int t = ~choose(), stack = free_stacks.back();
    free_stacks.pop_back();
    become(t);
    lanes[t].stack = stack;
    change(&host_point, fresh_point(stack));
    return n_live == 0;
}

int emu_run(const emu_launch *launch)
{
    setup();
    const char *order = getenv("EMU_ORDER");
    lifo = eager = order && !strcmp(order, "lifo");
    now = launch;
    n_threads = (int)(launch->block.x * launch->block.y * launch->block.z);
    for (int t = 0; t < n_threads; t++) {
        unsigned x = launch->block.x, y = launch->block.y, u = (unsigned)t;
        place[t] = emu_uint3{ u % x, u / x % y, u / x / y };
    }
    emu_now.block_dim = launch->block;
    emu_now.grid_dim = launch->grid;
    emu_now.dynamic = shared_end - ((launch->dynamic_bytes + 15u) & ~15u);
    if ((int)free_stacks.size() < MAX_THREADS) { /* the first launch, or one before this was given up */
        free_stacks.clear();
        for (int i = MAX_THREADS; i-- > 0;) free_stacks.push_back(i);
        for (lane_state &l : lanes) {
            l.copies.clear();
            l.groups = 0;
        }
    }
    if (emu_checking) emu_check_launch(launch, (uintptr_t)stacks, (uint64_t)MAX_THREADS * (STACK_BYTES + GUARD));
    faults(true);
    int result = sigsetjmp(host_return, 1);
    if (!result) {
        uint64_t n = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z;
        for (uint64_t i = 0; i < n && !result; i++) {
            uint64_t b = lifo ? n - 1 - i : i;
            emu_now.block = emu_uint3{ (unsigned)(b % launch->grid.x), (unsigned)(b / launch->grid.x % launch->grid.y),
                                       (unsigned)(b / launch->grid.x / launch->grid.y) };
            if (!run_block()) {
                tell_deadlock();
                result = 719;
            }
        }
    }
    faults(false);
    if (result) free_stacks.clear();
    now = nullptr;
    return result;
}
