/* libcuda.so.1: the driver API over the emulated device. Device memory is host memory in an address range of its own,
 * each buffer before a guard page, filled with 0xFF. All calls are serialized by one lock. */
#include "counters.h"
#include "device.h"
#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <ctime>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <functional>
#include <link.h>
#include <memory>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>
#ifndef MAP_FIXED_NOREPLACE
    #define MAP_FIXED_NOREPLACE MAP_FIXED
#endif

typedef unsigned long long devptr;
enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY = 209,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNMATCHED = 903,
    UPDATE_FAILED = 910,
    OUT_OF_RESOURCES = 701
};
static std::recursive_mutex lock;
static emu_counts counts;
static bool initialized;
static int sticky; /* a failed launch: every later call returns it until the context is gone */
static std::string reports;

static unsigned capability() { return (unsigned)emu_env("EMU_SM", 80); }
static uint64_t memory_total() { return (uint64_t)emu_env("EMU_MEMORY", 8l << 30); }
static int n_devices() { return (int)emu_env("EMU_DEVICES", 1); }

/* ---- findings ---------------------------------------------------------------------------------------------------- */
static void at_exit()
{
    if (!counts.findings || emu_env("EMU_KEEP_STATUS", 0)) return;
    fprintf(stderr, "emu: %llu findings in kernels: exit status 97\n", counts.findings);
    fflush(nullptr);
    _exit(97);
}

void emu_report(const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    static bool registered;
    if (!registered) {
        registered = true;
        atexit(at_exit);
    }
    if (reports.size() < 16384) reports += std::string(text) + "\n";
    if (++counts.findings <= (unsigned long long)emu_env("EMU_REPORTS", 50))
        fprintf(stderr, "emu: %s\n  emu:   in %s\n", text, emu_where());
}
EMU_API const emu_counts *emu_counters() { return &counts; }
EMU_API const char *emu_reports() { return reports.c_str(); }
EMU_API void emu_forgive()
{
    counts.findings = 0;
    reports.clear();
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */
struct Context {
    int device;
    unsigned references;
};
struct Module {
    void *library;
    const emu_module *info;
    const char *base, *end;
    int fd;
    std::vector<struct Function *> functions;
};
struct Function {
    Module *module;
    const emu_kernel *kernel;
    unsigned dynamic_limit = 48 * 1024;
};

struct Op {   /* one piece of work of a stream, or one node of a graph */
    int kind; /* of what, for cuGraphExecUpdate */
    std::function<int()> run;
    const void *id = this; /* the handle of the node, kept when its parameters change */
};
enum { OP_KERNEL, OP_COPY, OP_SET, OP_EVENT, OP_WAIT, OP_OTHER };
struct Graph {
    std::vector<std::shared_ptr<Op>> nodes;
};
struct Exec {
    std::vector<std::shared_ptr<Op>> nodes;
};
struct Stream {
    bool blocking = true;
    std::deque<std::shared_ptr<Op>> queue; /* what is not done yet (EMU_DEFER=1) */
    uint64_t n_enqueued = 0, n_done = 0;
    Graph *capture = nullptr;
    bool origin = false, broken = false;
    int capture_mode = 0;
    std::thread::id capturer;
};
struct Event {
    Stream *stream = nullptr;
    uint64_t ticket = 0;
    double time = 0;
    bool timing = true;
    Graph *capture = nullptr;
};

static Context contexts[16];
static thread_local Context *current;
static std::vector<Stream *> streams;
static Stream *null_stream()
{
    static Stream *s;
    if (!s) {
        s = new Stream;
        streams.push_back(s);
    }
    return s;
}
static Stream *stream_of(void *h) { return (uintptr_t)h <= 2 ? null_stream() : (Stream *)h; }
static bool known(Stream *s)
{
    for (Stream *t : streams)
        if (t == s) return true;
    return false;
}

/* Every entry: counts, asks for injected failures, gives the sticky error. */
#define ENTER_BUT_FAIL() \
    std::lock_guard<std::recursive_mutex> hold(lock); \
    counts.calls++; \
    if (!initialized) return NOT_INITIALIZED
#define ENTER(otherwise) \
    ENTER_BUT_FAIL(); \
    if (int injected = emu_injected(__func__, otherwise)) return injected
#define HAVE_CONTEXT() \
    if (!current) return INVALID_CONTEXT; \
    if (sticky) return sticky
#define ENTER_CONTEXT(otherwise) \
    ENTER(otherwise); \
    HAVE_CONTEXT()

/* ---- errors in words --------------------------------------------------------------------------------------------- */
struct error_text {
    int code;
    const char *name, *text;
};
static const error_text error_texts[] = {
    { 0, "CUDA_SUCCESS", "no error" },
    { 1, "CUDA_ERROR_INVALID_VALUE", "invalid argument" },
    { 2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory" },
    { 3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error" },
    { 4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down" },
    { 34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library" },
    { 100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected" },
    { 101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal" },
    { 200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid" },
    { 201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context" },
    { 209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device" },
    { 218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed" },
    { 221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found" },
    { 222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain." },
    { 400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle" },
    { 500, "CUDA_ERROR_NOT_FOUND", "named symbol not found" },
    { 600, "CUDA_ERROR_NOT_READY", "device not ready" },
    { 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered" },
    { 701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch" },
    { 704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled" },
    { 715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered" },
    { 716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address" },
    { 719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure" },
    { 801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported" },
    { 803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination" },
    { 804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW" },
    { 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing" },
    { 901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture" },
    { 903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream" },
    { 910, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE",
      "the graph update was not performed because it included changes which violated constraints specific to "
      "instantiated graph update" },
    { 999, "CUDA_ERROR_UNKNOWN", "unknown error" }
};
static const error_text *find_error(int code)
{
    for (const error_text &e : error_texts)
        if (e.code == code) return &e;
    return nullptr;
}
EMU_API int cuGetErrorName(int code, const char **out)
{
    const error_text *e = find_error(code);
    *out = e ? e->name : nullptr;
    return e ? OK : INVALID_VALUE;
}
EMU_API int cuGetErrorString(int code, const char **out)
{
    const error_text *e = find_error(code);
    *out = e ? e->text : nullptr;
    return e ? OK : INVALID_VALUE;
}

/* ---- device memory: addresses are handed out upwards and never twice, so that a use after free is a fault -------- */
struct Block {
    uint64_t bytes, mapped;
    uintptr_t base;
};
static std::map<uintptr_t, Block> blocks;
static std::map<uintptr_t, uint64_t> pinned;
static uintptr_t range_base, range_next;
static uint64_t range_bytes;
enum { PAGE = 65536, POISON = 16 << 20 };

static void reserve_range()
{
    for (range_bytes = 1ull << (emu_checking ? 38 : 40); range_bytes >= 1ull << 32; range_bytes >>= 1) {
        void *p = mmap(nullptr, range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p != MAP_FAILED) {
            range_base = range_next = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
            range_bytes -= PAGE;
            break;
        }
    }
    emu_check_setup(range_base, range_bytes);
}

/* Copy-on-write pages of one small file full of 0xFF: poison that costs nothing until it is written. */
static bool poison(uintptr_t p, uint64_t bytes)
{
    static int file = -1;
    if (file < 0) {
        file = memfd_create("emu-poison", MFD_CLOEXEC);
        std::string block(1 << 20, (char)0xff);
        for (int i = 0; i < POISON >> 20; i++)
            if (write(file, block.data(), block.size()) < 0) return false;
    }
    for (uint64_t at = 0; at < bytes; at += POISON) {
        uint64_t n = std::min(bytes - at, (uint64_t)POISON);
        if (mmap((void *)(p + at), n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0) ==
            MAP_FAILED)
            return false;
    }
    return true;
}

/* The host cannot read device memory: buffers are accessible only while the device works (EMU_PROTECT=0 leaves them
 * open). */
static bool protecting()
{
    static bool p = emu_env("EMU_PROTECT", 1) != 0;
    return p;
}
struct Working {
    static int depth;
    Working()
    {
        if (depth++ == 0) set(PROT_READ | PROT_WRITE);
    }
    ~Working()
    {
        if (--depth == 0) set(PROT_NONE);
    }
    static void set(int protection)
    {
        if (protecting())
            for (auto &b : blocks) mprotect((void *)b.second.base, b.second.mapped, protection);
    }
};
int Working::depth;
static struct sigaction other_segv;
static void on_host_fault(int number, siginfo_t *info, void *)
{
    uintptr_t a = (uintptr_t)info->si_addr;
    if (a - range_base < range_bytes)
        fprintf(stderr, "emu: the host uses device memory: %p, %s\n", info->si_addr, emu_about(a).c_str());
    sigaction(number, &other_segv, nullptr); /* comes again, and goes where it would have gone without us */
}
static void watch_host()
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = on_host_fault;
    a.sa_flags = SA_SIGINFO;
    if (protecting()) sigaction(SIGSEGV, &a, &other_segv);
}

static int allocate(devptr *out, uint64_t bytes)
{
    if (!bytes || !out) return INVALID_VALUE;
    uint64_t align = bytes % 256 ? 16 : 256, rounded = (bytes + align - 1) / align * align,
             mapped = (rounded + PAGE - 1) / PAGE * PAGE;
    if (counts.bytes + bytes > memory_total() || range_next + mapped + 2 * PAGE > range_base + range_bytes)
        return OUT_OF_MEMORY;
    uintptr_t base = range_next + PAGE;
    if (!poison(base, mapped)) return OUT_OF_MEMORY;
    range_next = base + mapped;
    if (protecting() && !Working::depth) mprotect((void *)base, mapped, PROT_NONE);
    uintptr_t p = base + mapped - rounded;
    blocks[p] = Block{ bytes, mapped, base };
    counts.allocations++;
    counts.bytes += bytes;
    if (counts.bytes > counts.peak_bytes) counts.peak_bytes = counts.bytes;
    *out = p;
    return OK;
}
static int release(devptr p)
{
    auto it = blocks.find((uintptr_t)p);
    if (it == blocks.end()) return INVALID_VALUE;
    mmap((void *)it->second.base, it->second.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
         -1, 0);
    counts.frees++;
    counts.bytes -= it->second.bytes;
    blocks.erase(it);
    return OK;
}
static bool inside(uintptr_t p, uint64_t bytes)
{
    auto it = blocks.upper_bound(p);
    if (it == blocks.begin()) return false;
    --it;
    return p - it->first <= it->second.bytes && bytes <= it->second.bytes - (p - it->first);
}
bool emu_inside(uintptr_t p, uint64_t bytes)
{ /* asked at each access of check mode: the last answer is kept */
    static uintptr_t base;
    static uint64_t size, version;
    uint64_t state = counts.allocations + counts.frees;
    if (version == state && p - base < size && bytes <= size - (p - base)) return true;
    if (!inside(p, bytes)) return false;
    auto it = std::prev(blocks.upper_bound(p));
    base = it->first;
    size = it->second.bytes;
    version = state;
    return true;
}
static bool is_pinned(const void *host)
{
    auto it = pinned.upper_bound((uintptr_t)host);
    if (it == pinned.begin()) return false;
    --it;
    return (uintptr_t)host - it->first < it->second;
}

bool emu_mapped_host(uintptr_t p) { return is_pinned((const void *)p); }

std::string emu_about(uintptr_t address)
{
    char text[256];
    if (address - range_base >= range_bytes) return "not device memory";
    auto it = blocks.upper_bound(address);
    if (it != blocks.begin()) {
        auto before = std::prev(it);
        uint64_t end = before->first + before->second.bytes;
        snprintf(text, sizeof text, "%llu bytes behind the end of the buffer %p of %llu bytes",
                 (unsigned long long)(address - end), (void *)before->first, (unsigned long long)before->second.bytes);
        if (address < end) snprintf(text, sizeof text, "inside of the buffer %p", (void *)before->first);
        return text;
    }
    if (it != blocks.end()) {
        snprintf(text, sizeof text, "%llu bytes before the buffer %p", (unsigned long long)(it->first - address),
                 (void *)it->first);
        return text;
    }
    return "in freed device memory";
}

/* ---- streams: work is done at once, or (EMU_DEFER=1) not before something waits for it --------------------------- */
static bool deferred() { return emu_env("EMU_DEFER", 0) != 0; }
static void perform(Op *op)
{
    if (!sticky) {
        int r = op->run();
        if (!sticky) sticky = r;
    }
}

static void run_until(Stream *s, uint64_t ticket)
{
    if (s->n_done >= ticket || s->queue.empty()) return;
    Working now;
    while (s->n_done < ticket && !s->queue.empty()) {
        std::shared_ptr<Op> op = s->queue.front();
        s->queue.pop_front();
        perform(op.get());
        s->n_done++;
    }
}
static void drain(Stream *s) { run_until(s, s->n_enqueued); }
static void drain_all()
{
    for (Stream *s : streams) drain(s);
}

/* While the host waits for a stream, others go on as far as they can, or do not: it differs from wait to wait in what
 * order, so that work that no event holds back comes too early at some of them, and too late at others. */
static void others_go_on(Stream *s)
{
    static const bool lifo = getenv("EMU_ORDER") && !strcmp(getenv("EMU_ORDER"), "lifo");
    static unsigned turn = 1;
    if (!lifo || !deferred()) return;
    turn = turn * 1664525u + 1013904223u;
    if (turn >> 30 == 0) return;
    const std::vector<Stream *> all = streams;
    for (size_t i = 0; i < all.size(); i++) {
        Stream *t = all[turn >> 29 & 1 ? i : all.size() - 1 - i];
        if (t != s && known(t) && !t->capture) drain(t);
    }
}

/* Adds work to a stream, to the graph that it captures, or does it. */
static int enqueue(Stream *s, std::shared_ptr<Op> op)
{
    if (s->broken) return CAPTURE_INVALIDATED;
    if (s->capture) {
        s->capture->nodes.push_back(op);
        return OK;
    }
    if (s == null_stream()) {
        for (Stream *t : streams)
            if (t->blocking) drain(t);
    }
    s->n_enqueued++;
    if (deferred()) {
        s->queue.push_back(op);
        return OK;
    }
    Working now;
    perform(op.get());
    s->n_done++;
    return OK;
}
static int add(Stream *s, int kind, std::function<int()> run)
{
    if (!known(s)) return INVALID_HANDLE;
    auto op = std::make_shared<Op>();
    op->kind = kind;
    op->run = std::move(run);
    return enqueue(s, op);
}
/* For cuBLAS: `run(data)` in the order of the stream; data is copied. */
EMU_API int emu_enqueue(void *stream, int (*run)(const void *data), const void *data, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    if (!initialized) return NOT_INITIALIZED;
    if (sticky) return sticky;
    std::string copy((const char *)data, bytes);
    return add(stream_of(stream), OP_OTHER, [=] {
        counts.launches++;
        counts.gemms++;
        return run(copy.data());
    });
}
EMU_API int emu_has_context() { return initialized && current != nullptr; }
EMU_API int emu_device_range(const void *p, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    return inside((uintptr_t)p, bytes);
}
EMU_API void emu_written(const void *p, size_t bytes) { emu_check_written((uintptr_t)p, bytes); }

/* A call that waits or allocates breaks captures that forbid it: modes are 0 global, 1 of the thread, 2 relaxed, of
 * captures and of threads. */
static thread_local int thread_mode;
static int forbidden_while_capturing()
{
    int result = OK;
    for (Stream *s : streams)
        if (s->capture && s->capture_mode != 2 && thread_mode != 2 &&
            (s->capturer == std::this_thread::get_id() || (s->capture_mode == 0 && thread_mode == 0))) {
            s->broken = true;
            result = CAPTURE_UNSUPPORTED;
        }
    return result;
}
EMU_API int cuThreadExchangeStreamCaptureMode(int *mode)
{
    ENTER(1);
    if (!mode || *mode < 0 || *mode > 2) return INVALID_VALUE;
    std::swap(*mode, thread_mode);
    return OK;
}
/* A call that waits for the whole device breaks them all. */
static int synchronize_device()
{
    int result = OK;
    for (Stream *s : streams)
        if (s->capture) {
            s->broken = true;
            result = CAPTURE_UNSUPPORTED;
        }
    if (result) return result;
    counts.syncs++;
    drain_all();
    return sticky;
}
/* For cuBLAS: a handle is made (1) or ended (-1), which waits for the device. */
EMU_API void emu_blas_handle(int change)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    counts.blas_handles += (unsigned long long)change;
    if (change < 0) synchronize_device();
}
#define NOT_WHILE_CAPTURING() \
    do { \
        if (int r = forbidden_while_capturing()) return r; \
    } while (0)

/* ---- init, devices, contexts ------------------------------------------------------------------------------------- */
EMU_API int cuInit(unsigned)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    counts.calls++;
    if (int e = emu_injected(__func__, 999)) return e;
    if (n_devices() <= 0) return NO_DEVICE;
    if (!initialized) {
        initialized = true;
        emu_checking = emu_env("EMU_CHECK", 0) != 0;
        reserve_range();
        watch_host();
        null_stream();
    }
    return OK;
}
EMU_API int cuDriverGetVersion(int *v)
{
    *v = (int)emu_env("EMU_DRIVER", 13000);
    return OK;
}
EMU_API int cuDeviceGetCount(int *n)
{
    ENTER(1);
    *n = n_devices();
    return OK;
}
EMU_API int cuDeviceGet(int *d, int i)
{
    ENTER(1);
    if (i < 0 || i >= n_devices()) return INVALID_DEVICE;
    *d = i;
    return OK;
}
EMU_API int cuDeviceGetName(char *s, int n, int)
{
    ENTER(1);
    snprintf(s, (size_t)n, "hybrid emulator (sm_%u)", capability());
    return OK;
}
EMU_API int cuDeviceTotalMem_v2(size_t *n, int)
{
    ENTER(1);
    *n = memory_total();
    return OK;
}
EMU_API int cuDeviceGetUuid_v2(char *uuid, int d)
{
    ENTER(1);
    memset(uuid, 0, 16);
    memcpy(uuid, "hybrid emulator", 15);
    uuid[15] = (char)d;
    return OK;
}
static int shared_optin()
{
    switch (capability()) {
    case 75: return 64 * 1024;
    case 80:
    case 87: return 163 * 1024;
    case 86:
    case 88:
    case 89:
    case 120:
    case 121: return 99 * 1024;
    default: return 227 * 1024;
    }
}
EMU_API int cuDeviceGetAttribute(int *v, int attribute, int device)
{
    ENTER(1);
    if (device < 0 || device >= n_devices()) return INVALID_DEVICE;
    switch (attribute) {
    case 1: *v = 1024; break; /* threads per block */
    case 2:
    case 3: *v = 1024; break;
    case 4: *v = 64; break;
    case 5: *v = 0x7fffffff; break;
    case 6:
    case 7: *v = 65535; break;
    case 8: *v = 48 * 1024; break;
    case 10: *v = 32; break;
    case 12:
    case 82: *v = 65536; break; /* registers */
    case 13:
    case 36: *v = 1000000; break; /* clocks, kHz */
    case 14: *v = 512; break;
    case 16: *v = (int)emu_env("EMU_SM_COUNT", 4); break;
    case 18: *v = 0; break;
    case 19:
    case 41:
    case 85:
    case 89:
    case 115: *v = 1; break; /* maps host memory, unified addresses, pools */
    case 31:
    case 40:
    case 95: *v = 1; break;
    case 37: *v = 256; break;
    case 38: *v = 4 << 20; break;
    case 39: *v = capability() == 75 ? 1024 : capability() == 80 || capability() >= 90 ? 2048 : 1536; break;
    case 75: *v = (int)(capability() / 10); break;
    case 76: *v = (int)(capability() % 10); break;
    case 81: *v = shared_optin() + 1024; break;
    case 97: *v = shared_optin(); break;
    case 106: *v = capability() == 75 ? 16 : 32; break;
    default: *v = 0;
    }
    return OK;
}

EMU_API int cuDevicePrimaryCtxRetain(void **out, int d)
{
    ENTER(2);
    if (d < 0 || d >= n_devices() || d >= 16) return INVALID_DEVICE;
    contexts[d].device = d;
    contexts[d].references++;
    *out = &contexts[d];
    return OK;
}
static void drop_everything()
{ /* the context is gone: its memory, the work and the sticky error too */
    while (!blocks.empty()) release(blocks.begin()->first);
    for (Stream *s : streams) {
        s->queue.clear();
        s->n_done = s->n_enqueued;
        s->capture = nullptr;
        s->broken = false;
    }
    sticky = 0;
}
EMU_API int cuDevicePrimaryCtxRelease_v2(int d)
{
    ENTER(1);
    if (d < 0 || d >= 16 || !contexts[d].references) return INVALID_CONTEXT;
    if (--contexts[d].references == 0) {
        if (!sticky) drain_all();
        drop_everything();
        if (current == &contexts[d]) current = nullptr;
    }
    return OK;
}
EMU_API int cuDevicePrimaryCtxReset_v2(int)
{
    ENTER(1);
    drop_everything();
    return OK;
}
EMU_API int cuDevicePrimaryCtxGetState(int d, unsigned *flags, int *active)
{
    ENTER(1);
    *flags = 0;
    *active = contexts[d & 15].references > 0;
    return OK;
}
EMU_API int cuDevicePrimaryCtxSetFlags_v2(int, unsigned)
{
    ENTER(1);
    return OK;
}
EMU_API int cuCtxSetCurrent(void *c)
{
    ENTER(1);
    current = (Context *)c;
    return OK;
}
EMU_API int cuCtxGetCurrent(void **c)
{
    ENTER(1);
    *c = current;
    return OK;
}
static thread_local std::vector<Context *> context_stack;
EMU_API int cuCtxPushCurrent_v2(void *c)
{
    ENTER(1);
    context_stack.push_back(current);
    current = (Context *)c;
    return OK;
}
EMU_API int cuCtxPopCurrent_v2(void **c)
{
    ENTER(1);
    if (c) *c = current;
    current = context_stack.empty() ? nullptr : context_stack.back();
    if (!context_stack.empty()) context_stack.pop_back();
    return OK;
}
EMU_API int cuCtxGetDevice(int *d)
{
    ENTER(1);
    if (!current) return INVALID_CONTEXT;
    *d = current->device;
    return OK;
}
EMU_API int cuCtxSynchronize()
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    return synchronize_device();
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */
EMU_API int cuMemGetInfo_v2(size_t *available, size_t *total)
{
    ENTER_CONTEXT(1);
    *total = memory_total();
    *available = *total > counts.bytes ? *total - counts.bytes : 0;
    return OK;
}
EMU_API int cuMemAlloc_v2(devptr *p, size_t n)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    NOT_WHILE_CAPTURING();
    return allocate(p, n);
}
EMU_API int cuMemFree_v2(devptr p)
{
    ENTER_CONTEXT(INVALID_VALUE);
    if (!p) return OK;
    NOT_WHILE_CAPTURING();
    drain_all();
    return release(p);
}
EMU_API int cuMemAllocAsync(devptr *p, size_t n, void *)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    return allocate(p, n);
}
EMU_API int cuMemFreeAsync(devptr p, void *s)
{
    ENTER_CONTEXT(INVALID_VALUE);
    return add(stream_of(s), OP_OTHER, [=] { return release(p); });
}
EMU_API int cuDeviceGetDefaultMemPool(void **pool, int)
{
    ENTER(1);
    *pool = contexts;
    return OK;
}
EMU_API int cuMemPoolSetAttribute(void *, int, void *)
{
    ENTER(1);
    return OK;
}
EMU_API int cuMemPoolGetAttribute(void *, int, void *value)
{
    ENTER(1);
    *(uint64_t *)value = 0;
    return OK;
}
EMU_API int cuMemPoolTrimTo(void *, size_t)
{
    ENTER(1);
    return OK;
}
EMU_API int cuMemHostAlloc(void **p, size_t n, unsigned)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    NOT_WHILE_CAPTURING();
    if (!n || posix_memalign(p, 4096, n)) return OUT_OF_MEMORY;
    memset(*p, 0xff, n);
    pinned[(uintptr_t)*p] = n;
    counts.pinned_bytes += n;
    return OK;
}
EMU_API int cuMemFreeHost(void *p)
{
    ENTER_CONTEXT(INVALID_VALUE);
    NOT_WHILE_CAPTURING();
    auto it = pinned.find((uintptr_t)p);
    if (it == pinned.end()) return INVALID_VALUE;
    drain_all();
    counts.pinned_bytes -= it->second;
    pinned.erase(it);
    free(p);
    return OK;
}
EMU_API int cuMemHostRegister_v2(void *p, size_t n, unsigned)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    if (is_pinned(p)) return 712;
    pinned[(uintptr_t)p] = n;
    counts.pinned_bytes += n;
    return OK;
}
EMU_API int cuMemHostUnregister(void *p)
{
    ENTER_CONTEXT(1);
    auto it = pinned.find((uintptr_t)p);
    if (it == pinned.end()) return 713;
    drain_all();
    counts.pinned_bytes -= it->second;
    pinned.erase(it);
    return OK;
}
EMU_API int cuMemHostGetDevicePointer_v2(devptr *out, void *p, unsigned)
{
    ENTER_CONTEXT(1);
    if (!is_pinned(p)) return INVALID_VALUE;
    *out = (devptr)(uintptr_t)p;
    return OK;
}

static int do_in(devptr to, const void *from, size_t n)
{
    counts.copies_in++;
    counts.bytes_in += n;
    memcpy((void *)to, from, n);
    emu_check_written((uintptr_t)to, n);
    return OK;
}
static int do_out(void *to, devptr from, size_t n)
{
    counts.copies_out++;
    counts.bytes_out += n;
    memcpy(to, (void *)from, n);
    return OK;
}
static bool bad(devptr p, size_t n) { return n && !inside((uintptr_t)p, n); }

/* The host is not to touch page-locked memory that a copy still uses; ordinary memory is read before the call
 * returns. */
static int copy_in(Stream *s, devptr to, const void *from, size_t n)
{
    if (bad(to, n) || (n && !from)) return INVALID_VALUE;
    if (!n) return OK;
    if (is_pinned(from) || s->capture) return add(s, OP_COPY, [=] { return do_in(to, from, n); });
    auto snapshot = std::make_shared<std::string>((const char *)from, n);
    return add(s, OP_COPY, [=] { return do_in(to, snapshot->data(), n); });
}
static int copy_out(Stream *s, void *to, devptr from, size_t n)
{
    if (bad(from, n) || (n && !to)) return INVALID_VALUE;
    if (!n) return OK;
    int r = add(s, OP_COPY, [=] { return do_out(to, from, n); });
    if (!r && !is_pinned(to) && !s->capture) drain(s);
    return r;
}
EMU_API int cuMemcpyHtoD_v2(devptr to, const void *from, size_t n)
{
    ENTER_CONTEXT(1);
    NOT_WHILE_CAPTURING();
    int r = copy_in(null_stream(), to, from, n);
    drain(null_stream());
    return r ? r : sticky;
}
EMU_API int cuMemcpyDtoH_v2(void *to, devptr from, size_t n)
{
    ENTER_CONTEXT(1);
    NOT_WHILE_CAPTURING();
    int r = copy_out(null_stream(), to, from, n);
    drain(null_stream());
    return r ? r : sticky;
}
EMU_API int cuMemcpyHtoDAsync_v2(devptr to, const void *from, size_t n, void *s)
{
    ENTER_CONTEXT(1);
    return copy_in(stream_of(s), to, from, n);
}
EMU_API int cuMemcpyDtoHAsync_v2(void *to, devptr from, size_t n, void *s)
{
    ENTER_CONTEXT(1);
    return copy_out(stream_of(s), to, from, n);
}
EMU_API int cuMemcpyDtoDAsync_v2(devptr to, devptr from, size_t n, void *s)
{
    ENTER_CONTEXT(1);
    if (bad(to, n) || bad(from, n)) return INVALID_VALUE;
    return add(stream_of(s), OP_COPY, [=] {
        counts.copies_on_device++;
        memmove((void *)to, (void *)from, n);
        emu_check_copied((uintptr_t)to, (uintptr_t)from, n);
        return OK;
    });
}
EMU_API int cuMemcpyDtoD_v2(devptr to, devptr from, size_t n)
{
    int r = cuMemcpyDtoDAsync_v2(to, from, n, nullptr);
    drain(null_stream());
    return r;
}
EMU_API int cuMemsetD8Async(devptr p, unsigned char v, size_t n, void *s)
{
    ENTER_CONTEXT(1);
    if (bad(p, n)) return INVALID_VALUE;
    return add(stream_of(s), OP_SET, [=] {
        memset((void *)p, v, n);
        emu_check_written((uintptr_t)p, n);
        return OK;
    });
}
EMU_API int cuMemsetD32Async(devptr p, unsigned v, size_t n, void *s)
{
    ENTER_CONTEXT(1);
    if (bad(p, n * 4) || p % 4) return INVALID_VALUE;
    return add(stream_of(s), OP_SET, [=] {
        for (size_t i = 0; i < n; i++) ((unsigned *)p)[i] = v;
        emu_check_written((uintptr_t)p, n * 4);
        return OK;
    });
}
EMU_API int cuMemsetD8_v2(devptr p, unsigned char v, size_t n)
{
    int r = cuMemsetD8Async(p, v, n, nullptr);
    drain(null_stream());
    return r;
}
EMU_API int cuMemsetD32_v2(devptr p, unsigned v, size_t n)
{
    int r = cuMemsetD32Async(p, v, n, nullptr);
    drain(null_stream());
    return r;
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */
EMU_API int cuStreamCreate(void **out, unsigned flags)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    Stream *s = new Stream;
    s->blocking = !(flags & 1u);
    streams.push_back(s);
    *out = s;
    return OK;
}
EMU_API int cuStreamCreateWithPriority(void **out, unsigned flags, int) { return cuStreamCreate(out, flags); }
EMU_API int cuStreamDestroy_v2(void *h)
{
    ENTER(1);
    if (!known((Stream *)h)) return INVALID_HANDLE;
    drain((Stream *)h);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == h) {
            streams.erase(streams.begin() + (long)i);
            break;
        }
    delete (Stream *)h;
    return OK;
}
EMU_API int cuStreamSynchronize(void *h)
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    Stream *s = stream_of(h);
    if (!known(s)) return INVALID_HANDLE;
    if (s->capture) {
        s->broken = true;
        return CAPTURE_UNSUPPORTED;
    }
    NOT_WHILE_CAPTURING();
    counts.syncs++;
    others_go_on(s);
    drain(s);
    return sticky;
}
EMU_API int cuStreamQuery(void *h)
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    Stream *s = stream_of(h);
    if (!known(s)) return INVALID_HANDLE;
    if (s->capture) {
        s->broken = true;
        return CAPTURE_UNSUPPORTED;
    }
    if (s->queue.empty()) return sticky;
    run_until(s, s->n_done + 1); /* time passes: one piece of work a question */
    return sticky ? sticky : NOT_READY;
}
static double seconds()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
EMU_API int cuEventCreate(void **out, unsigned flags)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    Event *e = new Event;
    e->timing = !(flags & 2u);
    *out = e;
    return OK;
}
EMU_API int cuEventDestroy_v2(void *e)
{
    ENTER(1);
    if (!e) return INVALID_HANDLE;
    if (!sticky) drain_all();
    delete (Event *)e;
    return OK;
}
EMU_API int cuEventRecord(void *h, void *sh)
{
    ENTER_CONTEXT(1);
    Event *e = (Event *)h;
    Stream *s = stream_of(sh);
    if (!e || !known(s)) return INVALID_HANDLE;
    e->capture = s->capture;
    if (s->capture) return s->broken ? CAPTURE_INVALIDATED : OK; /* a graph here is one sequence: nothing to add */
    e->stream = s;
    e->ticket = s->n_enqueued + 1;
    return add(s, OP_EVENT, [=] {
        e->time = seconds();
        return OK;
    });
}
static bool done(Event *e) { return !e->stream || !known(e->stream) || e->stream->n_done >= e->ticket; }
EMU_API int cuEventQuery(void *h)
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    Event *e = (Event *)h;
    if (!e) return INVALID_HANDLE;
    if (e->capture) return CAPTURE_UNSUPPORTED;
    NOT_WHILE_CAPTURING();
    if (done(e)) return sticky;
    run_until(e->stream, e->stream->n_done + 1);
    return sticky ? sticky : NOT_READY;
}
EMU_API int cuEventSynchronize(void *h)
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    Event *e = (Event *)h;
    if (!e) return INVALID_HANDLE;
    NOT_WHILE_CAPTURING();
    counts.syncs++;
    if (!done(e)) run_until(e->stream, e->ticket);
    return sticky;
}
EMU_API int cuEventElapsedTime(float *ms, void *a, void *b)
{
    ENTER_CONTEXT(1);
    Event *x = (Event *)a, *y = (Event *)b;
    if (!x || !y || !x->timing || !y->timing || !x->stream || !y->stream) return INVALID_HANDLE;
    if (!done(x) || !done(y)) return NOT_READY;
    *ms = (float)((y->time - x->time) * 1e3);
    return OK;
}
EMU_API int cuEventElapsedTime_v2(float *ms, void *a, void *b) { return cuEventElapsedTime(ms, a, b); }
EMU_API int cuStreamWaitEvent(void *sh, void *eh, unsigned)
{
    ENTER_CONTEXT(1);
    Stream *s = stream_of(sh);
    Event *e = (Event *)eh;
    if (!e || !known(s)) return INVALID_HANDLE;
    if (e->capture) { /* joins the capture */
        if (s->capture && s->capture != e->capture) return CAPTURE_INVALIDATED;
        s->capture = e->capture;
        return OK;
    }
    if (s->capture) {
        s->broken = true;
        return CAPTURE_INVALIDATED;
    }
    if (!e->stream) return OK;
    Stream *other = e->stream;
    uint64_t ticket = e->ticket;
    return add(s, OP_WAIT, [=] {
        if (known(other)) run_until(other, ticket);
        return OK;
    });
}
EMU_API int cuLaunchHostFunc(void *s, void (*f)(void *), void *data)
{
    ENTER_CONTEXT(1);
    return add(stream_of(s), OP_OTHER, [=] {
        f(data);
        return OK;
    });
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */
static std::string decode_ptx(const char *text, unsigned *target)
{
    const char *t = strstr(text, ".target sm_"), *p = strstr(text, "// emulator-image ");
    if (!t || !p) return "";
    *target = (unsigned)atoi(t + 11);
    std::string out;
    auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
    for (p += 18; digit(p[0]) >= 0 && digit(p[1]) >= 0; p += 2) out += (char)(digit(p[0]) * 16 + digit(p[1]));
    return out;
}
static std::vector<Module *> modules;

static int load(void **out, const void *image)
{
    if (!image || !out) return INVALID_VALUE;
    std::string text;
    unsigned arch = 0;
    bool ptx = memcmp(image, "//", 2) == 0;
    if (ptx) {
        text = decode_ptx((const char *)image, &arch);
        if (text.empty()) return INVALID_PTX;
        image = text.data();
    }
    Elf64_Ehdr head;
    memcpy(&head, image, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, 4) || (head.e_flags & 0xffff0000u) != EMU_FLAGS) return INVALID_IMAGE;
    if (!ptx) arch = head.e_flags & 0xfffu;
    unsigned mine = capability();
    if (arch > mine || (!ptx && arch / 10 != mine / 10)) return NO_BINARY;
    if (((head.e_flags >> 12 & 1u) != 0) != emu_checking) {
        fprintf(stderr,
                "emu: this module was compiled with another value of EMU_CHECK (an old file of the cubin cache?)\n");
        return INVALID_IMAGE;
    }
    const char *bytes = (const char *)image;
    size_t n_bytes = head.e_shoff + (size_t)head.e_shnum * head.e_shentsize; /* section headers come last */
    Module *m = new Module;
    m->fd = memfd_create("emu-module", MFD_CLOEXEC);
    for (size_t at = 0; at < n_bytes;) {
        ssize_t n = write(m->fd, bytes + at, n_bytes - at);
        if (n <= 0) {
            close(m->fd);
            delete m;
            return OUT_OF_MEMORY;
        }
        at += (size_t)n;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), m->fd);
    m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    m->info = m->library ? (const emu_module *)dlsym(m->library, "emu_this_module") : nullptr;
    if (!m->info || m->info->abi != EMU_ABI) {
        fprintf(stderr, "emu: cannot load a module: %s\n", m->library ? "built for another emulator" : dlerror());
        close(m->fd);
        delete m;
        return INVALID_IMAGE;
    }
    Dl_info where;
    m->base = m->end = dladdr(m->info, &where) ? (const char *)where.dli_fbase : nullptr;
    dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *data) {
            Module *x = (Module *)data;
            if ((const char *)info->dlpi_addr != x->base) return 0;
            for (int i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD)
                    x->end = std::max(x->end, x->base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
            return 1;
        },
        m);
    modules.push_back(m);
    counts.modules++;
    *out = m;
    return OK;
}
EMU_API int cuModuleLoadData(void **out, const void *image)
{
    ENTER_CONTEXT(INVALID_IMAGE);
    NOT_WHILE_CAPTURING();
    return load(out, image);
}
EMU_API int cuModuleLoadDataEx(void **out, const void *image, unsigned, int *, void **)
{
    ENTER_CONTEXT(INVALID_IMAGE);
    return load(out, image);
}
EMU_API int cuModuleUnload(void *h)
{
    ENTER(1);
    for (size_t i = 0; i < modules.size(); i++)
        if (modules[i] == h) {
            drain_all();
            Module *m = modules[i];
            modules.erase(modules.begin() + (long)i);
            for (Function *f : m->functions) delete f;
            dlclose(m->library);
            close(m->fd);
            delete m;
            return OK;
        }
    return INVALID_HANDLE;
}
EMU_API int cuModuleGetFunction(void **out, void *h, const char *name)
{
    ENTER_CONTEXT(NOT_FOUND);
    Module *m = (Module *)h;
    if (!m) return INVALID_HANDLE;
    for (Function *f : m->functions)
        if (!strcmp(f->kernel->name, name)) {
            *out = f;
            return OK;
        }
    for (int i = 0; i < m->info->n_kernels; i++)
        if (!strcmp(m->info->kernels[i].name, name)) {
            Function *f = new Function;
            f->module = m;
            f->kernel = &m->info->kernels[i];
            m->functions.push_back(f);
            *out = f;
            return OK;
        }
    return NOT_FOUND;
}
EMU_API int cuModuleGetGlobal_v2(devptr *p, size_t *n, void *h, const char *name)
{
    ENTER_CONTEXT(NOT_FOUND);
    Module *m = (Module *)h;
    for (int i = 0; i < m->info->n_globals; i++)
        if (!strcmp(m->info->globals[i].name, name)) {
            uintptr_t a = (uintptr_t)m->info->globals[i].address;
            if (p) *p = a;
            if (n) *n = m->info->globals[i].bytes;
            return OK;
        }
    return NOT_FOUND;
}
EMU_API int cuFuncSetAttribute(void *h, int attribute, int value)
{
    ENTER_CONTEXT(1);
    Function *f = (Function *)h;
    if (!f) return INVALID_HANDLE;
    if (attribute == 8) {
        if (value < 0 || value > shared_optin()) return INVALID_VALUE;
        f->dynamic_limit = (unsigned)value > 48 * 1024 ? (unsigned)value : 48 * 1024;
    }
    return OK;
}
EMU_API int cuFuncGetAttribute(int *v, int attribute, void *h)
{
    ENTER_CONTEXT(1);
    Function *f = (Function *)h;
    if (!f) return INVALID_HANDLE;
    switch (attribute) {
    case 0: *v = f->kernel->max_threads ? f->kernel->max_threads : 1024; break;
    case 4: *v = 32; break; /* registers: unknown here */
    case 5:
    case 6: *v = (int)capability(); break;
    case 8: *v = (int)f->dynamic_limit; break;
    default: *v = 0;
    }
    return OK;
}
EMU_API int cuFuncSetCacheConfig(void *, int)
{
    ENTER_CONTEXT(1);
    return OK;
}
EMU_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *, int threads, size_t shared)
{
    ENTER_CONTEXT(1);
    int by_threads = 2048 / (threads > 0 ? threads : 1),
        by_shared = shared ? (int)((size_t)shared_optin() / shared) : 32;
    *n = by_threads < by_shared ? by_threads : by_shared;
    if (*n > 32) *n = 32;
    return OK;
}

/* The source line of an address in a kernel, asked of addr2line (kernels carry line tables in check mode). */
std::string emu_source(const void *pc)
{
    for (Module *m : modules) {
        Dl_info where;
        if (!pc || !dladdr(pc, &where) || where.dli_fbase != (const void *)m->base) continue;
        char command[200], line[300];
        std::string found, quote;
        snprintf(command, sizeof command, "addr2line -i -e /proc/%d/fd/%d 0x%lx 2>/dev/null", (int)getpid(), m->fd,
                 (unsigned long)((const char *)pc - m->base - 1));
        FILE *f = popen(command, "r"); /* with -i: from the innermost inlined function outwards */
        while (f && fgets(line, sizeof line, f)) {
            const char *name = strrchr(line, '/');
            line[strcspn(line, " \n")] = 0;
            if (strstr(line, ":?") || strstr(line, "shim.h")) continue;
            if (const char *number = strrchr(line, ':'); number && found.empty()) quote = emu_line(atoi(number + 1));
            found += std::string(found.empty() ? "at " : " in ") + (name ? name + 1 : line);
        }
        if (f) pclose(f);
        return found + (quote.empty() ? "" : ": " + quote);
    }
    return "";
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */
static int launch(Function *f, emu_uint3 grid, emu_uint3 block, unsigned shared, Stream *s, void **params)
{
    static long n_launches;
    if (!f) return INVALID_HANDLE;
    if (!known(s)) return INVALID_HANDLE;
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (!threads || !grid.x || !grid.y || !grid.z || threads > 1024 || block.z > 64 || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535)
        return INVALID_VALUE;
    if (shared > f->dynamic_limit) return INVALID_VALUE;
    if (f->kernel->max_threads && threads > (unsigned)f->kernel->max_threads) return OUT_OF_RESOURCES;
    if (f->kernel->n_params && !params) return INVALID_VALUE;
    struct values {
        std::vector<uint64_t> words;
        std::vector<void *> at;
    };
    auto v = std::make_shared<values>();
    size_t n = 0, total = 1;
    for (int i = 0; i < f->kernel->n_params; i++) total += (size_t)(f->kernel->sizes[i] + 15) / 16 * 2;
    v->words.resize(total);
    for (int i = 0; i < f->kernel->n_params; i++) {
        v->at.push_back(&v->words[n]);
        memcpy(&v->words[n], params[i], (size_t)f->kernel->sizes[i]);
        n += (size_t)(f->kernel->sizes[i] + 15) / 16 * 2;
    }
    auto op = std::make_shared<Op>();
    op->kind = OP_KERNEL;
    op->run = [=] {
        counts.launches++;
        n_launches++;
        if (int injected = emu_injected("launch", LAUNCH_FAILED)) return injected;
        emu_launch x = {
            f->kernel, f->module->info, grid, block, shared, v->at.data(), (uintptr_t)f->module->base,
            (uintptr_t)f->module->end
        };
        double start = seconds();
        int r = emu_run(&x);
        if (emu_env("EMU_TRACE", 0))
            fprintf(stderr, "emu: launch %ld: %s<<<(%u,%u,%u),(%u,%u,%u),%u>>> %.3f ms%s\n", n_launches,
                    f->kernel->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared,
                    (seconds() - start) * 1e3, r ? " FAILED" : "");
        return r;
    };
    return enqueue(s, op);
}
EMU_API int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                           unsigned shared, void *s, void **params, void **extra)
{
    ENTER_CONTEXT(OUT_OF_RESOURCES);
    if (extra) return NOT_SUPPORTED;
    return launch((Function *)f, emu_uint3{ gx, gy, gz }, emu_uint3{ bx, by, bz }, shared, stream_of(s), params);
}
struct launch_config {
    unsigned gx, gy, gz, bx, by, bz, shared;
    void *stream;
    void *attributes;
    unsigned n_attributes;
};
EMU_API int cuLaunchKernelEx(const launch_config *c, void *f, void **params, void **extra)
{
    ENTER_CONTEXT(OUT_OF_RESOURCES);
    if (extra) return NOT_SUPPORTED;
    return launch((Function *)f, emu_uint3{ c->gx, c->gy, c->gz }, emu_uint3{ c->bx, c->by, c->bz }, c->shared,
                  stream_of(c->stream), params);
}

/* ---- graphs: the captured work in the order of the calls --------------------------------------------------------- */
EMU_API int cuStreamBeginCapture_v2(void *h, int mode)
{
    ENTER_CONTEXT(1);
    Stream *s = stream_of(h);
    if (!known(s)) return INVALID_HANDLE;
    if (s == null_stream() || s->capture) return CAPTURE_UNSUPPORTED;
    s->capture = new Graph;
    s->origin = true;
    s->broken = false;
    s->capture_mode = mode;
    s->capturer = std::this_thread::get_id();
    return OK;
}
EMU_API int cuStreamEndCapture(void *h, void **out)
{ /* ends it when it fails, too */
    ENTER_BUT_FAIL();
    HAVE_CONTEXT();
    Stream *s = stream_of(h);
    if (!known(s) || !s->capture || !s->origin) return CAPTURE_UNMATCHED;
    Graph *g = s->capture;
    int injected = emu_injected(__func__, CAPTURE_INVALIDATED);
    bool broken = injected != 0;
    for (Stream *t : streams)
        if (t->capture == g) {
            broken = broken || t->broken;
            t->capture = nullptr;
            t->origin = t->broken = false;
        }
    *out = nullptr;
    if (broken) {
        delete g;
        return injected ? injected : CAPTURE_INVALIDATED;
    }
    *out = g;
    return OK;
}
EMU_API int cuStreamIsCapturing(void *h, int *status)
{
    ENTER_CONTEXT(1);
    Stream *s = stream_of(h);
    if (!known(s)) return INVALID_HANDLE;
    *status = !s->capture ? 0 : s->broken ? 2 : 1;
    return OK;
}
EMU_API int cuGraphInstantiateWithFlags(void **out, void *g, unsigned long long)
{
    ENTER_CONTEXT(OUT_OF_MEMORY);
    if (!g) return INVALID_HANDLE;
    Exec *e = new Exec;
    e->nodes = ((Graph *)g)->nodes;
    *out = e;
    return OK;
}
EMU_API int cuGraphInstantiate_v2(void **out, void *g, void *, char *, size_t)
{
    return cuGraphInstantiateWithFlags(out, g, 0);
}
EMU_API int cuGraphLaunch(void *h, void *s)
{
    ENTER_CONTEXT(LAUNCH_FAILED);
    if (!h) return INVALID_HANDLE;
    counts.graph_launches++;
    Working now; /* once for all nodes */
    for (auto &op : ((Exec *)h)->nodes)
        if (int r = known(stream_of(s)) ? enqueue(stream_of(s), op) : INVALID_HANDLE) return r;
    return OK;
}
struct update_result {
    int result;
    void *node, *from;
};
EMU_API int cuGraphExecUpdate_v2(void *h, void *g, update_result *result)
{
    ENTER_CONTEXT(UPDATE_FAILED);
    if (!h || !g) return INVALID_HANDLE;
    Exec *e = (Exec *)h;
    Graph *n = (Graph *)g;
    bool same = e->nodes.size() == n->nodes.size();
    for (size_t i = 0; same && i < n->nodes.size(); i++) same = e->nodes[i]->kind == n->nodes[i]->kind;
    if (result) {
        memset(result, 0, sizeof *result);
        result->result = same ? 0 : 2;
    }
    if (!same) return UPDATE_FAILED;
    e->nodes = n->nodes;
    return OK;
}
EMU_API int cuGraphGetNodes(void *g, void **nodes, size_t *n)
{
    ENTER_CONTEXT(1);
    auto &all = ((Graph *)g)->nodes;
    if (nodes)
        for (size_t i = 0; i < all.size() && i < *n; i++) nodes[i] = (void *)all[i]->id;
    *n = all.size();
    return OK;
}
struct kernel_node {
    void *function;
    unsigned gx, gy, gz, bx, by, bz, shared;
    void **params, **extra, *kernel, *context;
};
EMU_API int cuGraphExecKernelNodeSetParams_v2(void *h, void *node, const kernel_node *k)
{
    ENTER_CONTEXT(1);
    for (auto &op : ((Exec *)h)->nodes)
        if (op->id == node && op->kind == OP_KERNEL) {
            Graph one;
            Stream temporary;
            temporary.capture = &one;
            streams.push_back(&temporary);
            int r = launch((Function *)k->function, emu_uint3{ k->gx, k->gy, k->gz }, emu_uint3{ k->bx, k->by, k->bz },
                           k->shared, &temporary, k->params);
            streams.pop_back();
            if (!r) {
                op = one.nodes[0];
                op->id = node;
            }
            return r;
        }
    return INVALID_VALUE;
}
EMU_API int cuGraphExecDestroy(void *h)
{
    ENTER(1);
    if (!h) return INVALID_HANDLE;
    delete (Exec *)h;
    return OK;
}
EMU_API int cuGraphDestroy(void *h)
{
    ENTER(1);
    if (!h) return INVALID_HANDLE;
    delete (Graph *)h;
    return OK;
}
EMU_API int cuGraphUpload(void *, void *)
{
    ENTER_CONTEXT(1);
    return OK;
}
