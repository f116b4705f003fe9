/* The emulator's own test: opens the three stand-in libraries as hybrid does and runs selftest.cu.
 *   cc -o build/emu/selftest tests/emu/selftest.c -ldl -lm && build/emu/selftest [folder of the libraries]
 * Runs under every setting of EMU_CHECK, EMU_ORDER, EMU_DEFER and EMU_COMPILER; what depends on them is asked of the
 * environment. */
#ifndef _GNU_SOURCE
    #define _GNU_SOURCE
#endif
#include "../check.h"
#include "counters.h"
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long long devptr;
static void *cuda, *nvrtc, *cublas;

/* every function that the test calls */
/* clang-format off */
#define DRIVER(X) \
    X(cuInit, (unsigned)) X(cuDeviceGetCount, (int *)) X(cuDeviceGetAttribute, (int *, int, int)) \
    X(cuDevicePrimaryCtxRetain, (void **, int)) \
    X(cuDevicePrimaryCtxRelease_v2, (int)) X(cuCtxSetCurrent, (void *)) X(cuCtxSynchronize, (void)) \
    X(cuMemAlloc_v2, (devptr *, size_t)) X(cuMemFree_v2, (devptr)) X(cuMemHostAlloc, (void **, size_t, unsigned)) \
    X(cuMemFreeHost, (void *)) X(cuMemGetInfo_v2, (size_t *, size_t *)) \
    X(cuMemcpyHtoD_v2, (devptr, const void *, size_t)) X(cuMemcpyDtoH_v2, (void *, devptr, size_t)) \
    X(cuMemcpyHtoDAsync_v2, (devptr, const void *, size_t, void *)) \
    X(cuMemcpyDtoHAsync_v2, (void *, devptr, size_t, void *)) \
    X(cuMemcpyDtoDAsync_v2, (devptr, devptr, size_t, void *)) \
    X(cuMemsetD8Async, (devptr, unsigned char, size_t, void *)) \
    X(cuMemsetD32Async, (devptr, unsigned, size_t, void *)) X(cuStreamCreate, (void **, unsigned)) \
    X(cuStreamDestroy_v2, (void *)) X(cuStreamSynchronize, (void *)) X(cuStreamQuery, (void *)) \
    X(cuStreamWaitEvent, (void *, void *, unsigned)) X(cuEventCreate, (void **, unsigned)) \
    X(cuEventDestroy_v2, (void *)) X(cuEventRecord, (void *, void *)) X(cuEventSynchronize, (void *)) \
    X(cuEventElapsedTime, (float *, void *, void *)) X(cuModuleLoadData, (void **, const void *)) \
    X(cuModuleUnload, (void *)) X(cuModuleGetFunction, (void **, void *, const char *)) \
    X(cuModuleGetGlobal_v2, (devptr *, size_t *, void *, const char *)) X(cuFuncSetAttribute, (void *, int, int)) \
    X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, \
                       void **, void **)) \
    X(cuStreamBeginCapture_v2, (void *, int)) X(cuStreamEndCapture, (void *, void **)) \
    X(cuGraphInstantiateWithFlags, (void **, void *, unsigned long long)) X(cuGraphLaunch, (void *, void *)) \
    X(cuGraphExecUpdate_v2, (void *, void *, void *)) X(cuGraphExecDestroy, (void *)) X(cuGraphDestroy, (void *)) \
    X(cuGetErrorString, (int, const char **))
#define RTC(X) \
    X(nvrtcVersion, (int *, int *)) X(nvrtcGetNumSupportedArchs, (int *)) X(nvrtcGetSupportedArchs, (int *)) \
    X(nvrtcCreateProgram, (void **, const char *, const char *, int, const char *const *, const char *const *)) \
    X(nvrtcCompileProgram, (void *, int, const char *const *)) X(nvrtcDestroyProgram, (void **)) \
    X(nvrtcGetCUBINSize, (void *, size_t *)) X(nvrtcGetCUBIN, (void *, char *)) X(nvrtcGetPTXSize, (void *, size_t *)) \
    X(nvrtcGetPTX, (void *, char *)) X(nvrtcGetProgramLogSize, (void *, size_t *)) \
    X(nvrtcGetProgramLog, (void *, char *))
#define BLAS(X) \
    X(cublasCreate_v2, (void **)) \
    X(cublasDestroy_v2, (void *)) X(cublasSetStream_v2, (void *, void *)) \
    X(cublasGemmEx, (void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, \
                     int, const void *, void *, int, int, int, int)) \
    X(cublasSgemm_v2, (void *, int, int, int, int, int, const float *, const float *, int, const float *, int, \
                       const float *, float *, int))
/* clang-format on */
#define DECLARE(name, arguments) static int (*name) arguments;
DRIVER(DECLARE)
RTC(DECLARE)
BLAS(DECLARE)
#define FIND(name, arguments) \
    { \
        void *p = dlsym(LIBRARY, #name); \
        CHECK(p != NULL, "%s", #name); \
        memcpy(&name, &p, sizeof p); \
    }

static emu_counters_function counters;
static emu_reports_function reports;
static emu_forgive_function forgive;
static emu_forbid_function forbid;
static void *stream, *module;

static void *open_library(const char *folder, const char *name)
{
    char path[1024];
    void *h;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    h = dlopen(path, RTLD_NOW);
    CHECK(h != NULL, "%s", dlerror());
    if (!h) exit(test_end());
    return h;
}

/* Compiles selftest.cu for `arch` with one more option; the cubin or PTX, NULL with the log printed when that is
 * wanted */
static char *compile(const char *text, const char *arch, const char *define, int *code, char *log, size_t log_size)
{
    const char *options[4];
    void *program = NULL;
    char *image = NULL;
    size_t n = 0;
    options[0] = arch;
    options[1] = "--std=c++17";
    options[2] = define ? define : "-DNOTHING";
    CHECK(nvrtcCreateProgram(&program, text, "selftest.cu", 0, NULL, NULL) == 0, "create");
    *code = nvrtcCompileProgram(program, 3, options);
    if (log) {
        nvrtcGetProgramLogSize(program, &n);
        if (n <= log_size) nvrtcGetProgramLog(program, log);
    }
    if (*code == 0) {
        nvrtcGetCUBINSize(program, &n);
        if (n) {
            image = (char *)malloc(n);
            nvrtcGetCUBIN(program, image);
        } else {
            nvrtcGetPTXSize(program, &n);
            image = (char *)malloc(n);
            nvrtcGetPTX(program, image);
        }
    }
    nvrtcDestroyProgram(&program);
    return image;
}

static void *load(const char *text, const char *define)
{
    static char log[20000];
    int code;
    void *m = NULL;
    char *image = compile(text, "--gpu-architecture=sm_80", define, &code, log, sizeof log);
    CHECK(code == 0, "compile: %d\n%s", code, log);
    if (!image) exit(test_end());
    code = cuModuleLoadData(&m, image);
    CHECK(code == 0, "load: %d", code);
    free(image);
    return m;
}

static int launch(const char *name, unsigned gx, unsigned gy, unsigned threads, unsigned shared, void **args)
{
    void *f = NULL;
    int r = cuModuleGetFunction(&f, module, name);
    CHECK(r == 0, "%s: %d", name, r);
    return r ? r : cuLaunchKernel(f, gx, gy, 1, threads, 1, 1, shared, stream, args, NULL);
}
static int finish(void) { return cuStreamSynchronize(stream); }

static devptr upload(const void *data, size_t bytes)
{
    devptr p = 0;
    int r = cuMemAlloc_v2(&p, bytes);
    CHECK(r == 0, "alloc %d", r);
    if (data) CHECK(cuMemcpyHtoD_v2(p, data, bytes) == 0, "upload");
    return p;
}
static void download(void *to, devptr p, size_t bytes)
{
    CHECK(finish() == 0, "sync");
    CHECK(cuMemcpyDtoH_v2(to, p, bytes) == 0, "download");
}
static unsigned seed = 1;
static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

static float half_to_float(unsigned h)
{
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    float f = e == 0 ? ldexpf((float)m, -24) : ldexpf((float)(m + 1024), e - 25);
    return h & 0x8000u ? -f : f;
}
static unsigned short float_to_half(float f) /* good for |f| in 2^-14 .. 2: truncates */
{
    int e;
    float m = frexpf(fabsf(f), &e);
    if (f == 0.0f || e < -13) return 0;
    return (unsigned short)((f < 0 ? 0x8000 : 0) | ((e + 14) << 10) | ((int)(m * 2048.0f) & 1023));
}

static void test_simple(void)
{
    enum { N = 1000, ROWS = 7 };
    static float a[ROWS * N], b[N], y[N];
    static unsigned char bytes[3000];
    int lanes[320], counts[16], want[16] = { 0 }, i, n = N, wrong = 0, n_bytes = 3000;
    float sum, total = 0.0f;
    devptr da, db, dy, dl, dc, ds, dx;
    void *args[8];
    for (i = 0; i < ROWS * N; i++) a[i] = noise();
    for (i = 0; i < N; i++) b[i] = noise();
    da = upload(a, sizeof a);
    db = upload(b, sizeof b);
    dy = upload(NULL, sizeof y);
    dl = upload(NULL, sizeof lanes);
    TEST("vector add");
    args[0] = &dy;
    args[1] = &da;
    args[2] = &db;
    args[3] = &n;
    CHECK(launch("add", 4, 1, 256, 0, args) == 0, "launch");
    download(y, dy, sizeof y);
    for (i = 0; i < N; i++) wrong += y[i] != a[i] + b[i];
    CHECK(!wrong, "%d wrong", wrong);

    TEST("block reduction");
    args[0] = &dy;
    args[1] = &da;
    args[2] = &n;
    CHECK(launch("row_sum", ROWS, 1, 256, 0, args) == 0, "launch");
    download(y, dy, ROWS * sizeof *y);
    for (i = 0; i < ROWS; i++) {
        double s = 0;
        int k;
        for (k = 0; k < N; k++) s += a[i * N + k];
        CHECK(fabs(y[i] - s) < 1e-3, "row %d: %g, not %g", i, y[i], s);
    }
    CHECK(launch("row_sum", ROWS, 1, 512, 0, args) == 701, "more threads than __launch_bounds__");
    CHECK(launch("row_sum", 0, 1, 32, 0, args) == 1, "an empty grid");
    CHECK(launch("row_sum", 1, 1, 32, 49153, args) == 1, "too much shared memory");

    TEST("lanes");
    args[0] = &dl;
    CHECK(launch("lanes", 1, 1, 64, 0, args) == 0, "launch");
    download(lanes, dl, sizeof lanes);
    for (i = 0; i < 64; i++) {
        int lane = i & 31, down = (lane & 15) + 4 < 16 ? i + 4 : i, up = (lane & 7) >= 2 ? i - 2 : i;
        int dot = 1 * 2 + -1 * 3 + 127 * 4 + -128 * 5 + i;
        CHECK(lanes[i] == ((i & 32) + (lane ^ 5)) * 3 + dot, "shuffle and dot4 of %d: %d", i, lanes[i]);
        CHECK((unsigned)lanes[64 + i] == 0x49249249u, "ballot %x", (unsigned)lanes[64 + i]);
        CHECK(lanes[128 + i] == (lane < 16 ? down : up), "half-warp shuffle of %d: %d", i, lanes[128 + i]);
        CHECK((unsigned)lanes[192 + i] == 0x77225500u, "byte_perm %x", (unsigned)lanes[192 + i]);
        if (lane < 20) CHECK(lanes[256 + i] == 1, "vote of the lanes that are left");
    }

    TEST("atomics");
    for (i = 0; i < 3000; i++) {
        bytes[i] = (unsigned char)(seed >> 9);
        noise();
        want[bytes[i] & 15]++;
        total += bytes[i];
    }
    dx = upload(bytes, sizeof bytes);
    dc = upload(NULL, sizeof counts);
    ds = upload(NULL, sizeof sum);
    CHECK(cuMemsetD8Async(dc, 0, sizeof counts, stream) == 0 && cuMemsetD32Async(ds, 0, 1, stream) == 0, "memset");
    args[0] = &dc;
    args[1] = &ds;
    args[2] = &dx;
    args[3] = &n_bytes;
    CHECK(launch("histogram", 1, 1, 128, 0, args) == 0, "launch");
    download(counts, dc, sizeof counts);
    download(&sum, ds, sizeof sum);
    for (i = 0; i < 16; i++) CHECK(counts[i] == want[i], "bin %d: %d, not %d", i, counts[i], want[i]);
    CHECK(sum == total, "%g, not %g", sum, total);

    TEST("last block");
    CHECK(cuMemsetD8Async(dc, 0, sizeof counts, stream) == 0, "memset");
    args[0] = &ds;
    args[1] = &dy;
    args[2] = &dc;
    CHECK(launch("last_block", 20, 1, 32, 0, args) == 0, "launch");
    download(&sum, ds, sizeof sum);
    CHECK(sum == 210.0f, "%g", sum);

    TEST("parameters and globals");
    {
        struct {
            int n;
            float factor;
            devptr x;
            short tail[5];
        } o = { 4, 2.0f, 0, { 0, 0, 0, 0, 7 } };
        double scale = 0.5;
        unsigned char small = 200;
        devptr where = 0;
        size_t bytes_of = 0;
        int ticket = 41;
        o.x = da;
        args[0] = &dy;
        args[1] = &o;
        args[2] = &scale;
        args[3] = &small;
        CHECK(cuModuleGetGlobal_v2(&where, &bytes_of, module, "ticket") == 0 && bytes_of == 4, "global");
        *(int *)(uintptr_t)where = ticket;
        CHECK(launch("by_value", 1, 1, 32, 0, args) == 0, "launch");
        download(y, dy, 16);
        for (i = 0; i < 4; i++) CHECK(y[i] == a[i] + 200.0f + (float)(i + 1) + 7.0f, "%d: %g", i, y[i]);
        CHECK(*(int *)(uintptr_t)where == 42, "device variable");
        CHECK(cuModuleGetFunction(args, module, "absent") == 500, "unknown kernel");
    }
    cuMemFree_v2(da);
    cuMemFree_v2(db);
    cuMemFree_v2(dy);
    cuMemFree_v2(dl);
    cuMemFree_v2(dx);
    cuMemFree_v2(dc);
    cuMemFree_v2(ds);
}

static void test_matrices(void)
{
    enum { M = 70, N = 50, K = 96 };
    static unsigned short a[M * K], b[N * K], hb[8 * 16], ha[16 * 16];
    static signed char ia[16 * 32], ib[8 * 32];
    static float c[M * N], cf[128], cb[128];
    static int ci[128], bad[32];
    int i, j, k, m = M, n = N, kk = K;
    double worst = 0;
    void *args[8], *handle = NULL;
    devptr da, db, dc, dcf, dcb, dci, dha, dhb, dia, dib, dbad;
    float one = 1.0f, zero = 0.0f;
    for (i = 0; i < M * K; i++) a[i] = float_to_half(noise());
    for (i = 0; i < N * K; i++) b[i] = float_to_half(noise());
    da = upload(a, sizeof a);
    db = upload(b, sizeof b);
    dc = upload(NULL, sizeof c);
    TEST("mma, ldmatrix, cp.async");
    args[0] = &dc;
    args[1] = &da;
    args[2] = &db;
    args[3] = &m;
    args[4] = &n;
    args[5] = &kk;
    CHECK(launch("gemm", (N + 31) / 32, (M + 31) / 32, 128, 2 * 2 * 32 * 24 * 2, args) == 0, "launch");
    download(c, dc, sizeof c);
    for (i = 0; i < M; i++)
        for (j = 0; j < N; j++) {
            double s = 0;
            for (k = 0; k < K; k++) s += (double)half_to_float(a[i * K + k]) * half_to_float(b[j * K + k]);
            s = fabs(s - c[i * N + j]);
            if (!(s <= worst)) worst = s;
        }
    CHECK(worst < 1e-4, "worst difference %g", worst);

    TEST("fragments by hand");
    for (i = 0; i < 256; i++) ha[i] = float_to_half((float)(i % 17 - 8) / 8.0f);
    for (i = 0; i < 128; i++) hb[i] = float_to_half((float)(i * 7 % 23 - 11) / 16.0f);
    for (i = 0; i < 512; i++) ia[i] = (signed char)(i * 37 % 256 - 128);
    for (i = 0; i < 256; i++) ib[i] = (signed char)(i * 91 % 255 - 127);
    dcf = upload(NULL, sizeof cf);
    dcb = upload(NULL, sizeof cb);
    dci = upload(NULL, sizeof ci);
    dha = upload(ha, sizeof ha);
    dhb = upload(hb, sizeof hb);
    dia = upload(ia, sizeof ia);
    dib = upload(ib, sizeof ib);
    dbad = upload(NULL, sizeof bad);
    args[0] = &dcf;
    args[1] = &dcb;
    args[2] = &dci;
    args[3] = &dha;
    args[4] = &dhb;
    args[5] = &dia;
    args[6] = &dib;
    CHECK(launch("mma_by_hand", 1, 1, 32, 0, args) == 0, "launch");
    download(cf, dcf, sizeof cf);
    download(cb, dcb, sizeof cb);
    download(ci, dci, sizeof ci);
    for (i = 0; i < 16; i++)
        for (j = 0; j < 8; j++) {
            double s = 0;
            int x = 0;
            for (k = 0; k < 16; k++) s += (double)half_to_float(ha[i * 16 + k]) * half_to_float(hb[j * 16 + k]);
            for (k = 0; k < 32; k++) x += ia[i * 32 + k] * ib[j * 32 + k];
            CHECK(fabs(s - cf[i * 8 + j]) < 1e-5 && fabs(s - cb[i * 8 + j]) < 1e-5, "(%d, %d): %g %g, not %g", i, j,
                  cf[i * 8 + j], cb[i * 8 + j], s);
            CHECK(x == ci[i * 8 + j], "(%d, %d): %d, not %d", i, j, ci[i * 8 + j], x);
        }
    args[0] = &dbad;
    CHECK(launch("ldmatrix_layout", 1, 1, 32, 0, args) == 0, "launch");
    download(bad, dbad, sizeof bad);
    for (i = 0; i < 32; i++) CHECK(bad[i] == 0, "lane %d: %d wrong", i, bad[i]);

    TEST("cuBLAS");
    CHECK(cublasCreate_v2(&handle) == 0 && cublasSetStream_v2(handle, stream) == 0, "create");
    CHECK(cuMemsetD8Async(dc, 0xff, sizeof c, stream) == 0, "memset");
    CHECK(cublasGemmEx(handle, 1, 0, N, M, K, &one, (void *)(uintptr_t)db, 2, K, (void *)(uintptr_t)da, 2, K, &zero,
                       (void *)(uintptr_t)dc, 0, N, 68, -1) == 0,
          "gemm");
    CHECK(cublasGemmEx(handle, 1, 0, N, M + 1, K, &one, (void *)(uintptr_t)db, 2, K, (void *)(uintptr_t)da, 2, K, &zero,
                       (void *)(uintptr_t)dc, 0, N, 68, -1) == 7,
          "one row too many");
    download(c, dc, sizeof c);
    worst = 0;
    for (i = 0; i < M; i++)
        for (j = 0; j < N; j++) {
            double s = 0;
            for (k = 0; k < K; k++) s += (double)half_to_float(a[i * K + k]) * half_to_float(b[j * K + k]);
            s = fabs(s - c[i * N + j]);
            if (!(s <= worst)) worst = s;
        }
    CHECK(worst < 1e-4, "worst difference %g", worst);
    CHECK(cublasDestroy_v2(handle) == 0, "destroy");
}

static void test_graph(void)
{
    enum { N = 300 };
    static float x[N];
    int step = 0, n = N, i, r;
    void *graph = NULL, *exec = NULL, *args[3], *again[1], *other = NULL, *event = NULL;
    devptr dx, ds;
    TEST("graph");
    for (i = 0; i < N; i++) x[i] = 1.0f;
    dx = upload(x, sizeof x);
    ds = upload(&step, sizeof step);
    args[0] = &dx;
    args[1] = &ds;
    args[2] = &n;
    again[0] = &ds;
    CHECK(cuStreamBeginCapture_v2(stream, 1) == 0, "begin");
    CHECK(launch("scale_step", 1, 1, 64, 0, args) == 0 && launch("next_step", 1, 1, 1, 0, again) == 0, "capture");
    CHECK(cuStreamEndCapture(stream, &graph) == 0 && cuGraphInstantiateWithFlags(&exec, graph, 0) == 0, "end");
    for (i = 0; i < 3; i++) CHECK(cuGraphLaunch(exec, stream) == 0, "launch");
    download(x, dx, sizeof x);
    CHECK(x[0] == 12.0f && x[N - 1] == 12.0f, "%g %g", x[0], x[N - 1]); /* ((1 2 + 0) 2 + 1) 2 + 2 */
    CHECK(cuGraphExecUpdate_v2(exec, graph, NULL) == 0, "update");
    CHECK(cuStreamBeginCapture_v2(stream, 1) == 0, "begin");
    r = cuStreamSynchronize(stream);
    CHECK(r == 900, "a wait in a capture: %d", r);
    r = cuStreamEndCapture(stream, &other);
    CHECK(r == 901, "the end of a broken capture: %d", r);
    cuGraphExecDestroy(exec);
    cuGraphDestroy(graph);

    TEST("events and streams");
    {
        void *second = NULL, *pinned = NULL;
        float ms = -1.0f;
        CHECK(cuStreamCreate(&second, 1) == 0 && cuEventCreate(&event, 0) == 0 &&
                  cuMemHostAlloc(&pinned, sizeof x, 0) == 0,
              "create");
        for (i = 0; i < N; i++) ((float *)pinned)[i] = 3.0f;
        CHECK(cuMemcpyHtoDAsync_v2(dx, pinned, sizeof x, second) == 0 && cuEventRecord(event, second) == 0 &&
                  cuStreamWaitEvent(stream, event, 0) == 0,
              "order");
        step = 0;
        CHECK(cuMemcpyHtoDAsync_v2(ds, &step, sizeof step, stream) == 0, "snapshot");
        step = 99; /* ordinary memory: already read */
        CHECK(launch("scale_step", 1, 1, 64, 0, args) == 0, "launch");
        if (getenv("EMU_DEFER") && atoi(getenv("EMU_DEFER")))
            CHECK(cuStreamQuery(stream) == 600, "nothing is done before it is waited for");
        download(x, dx, sizeof x);
        CHECK(x[5] == 6.0f, "%g", x[5]);
        CHECK(cuEventRecord(event, stream) == 0 && cuEventSynchronize(event) == 0 &&
                  cuEventElapsedTime(&ms, event, event) == 0 && ms == 0.0f,
              "events");
        CHECK(cuStreamDestroy_v2(second) == 0 && cuEventDestroy_v2(event) == 0 && cuMemFreeHost(pinned) == 0,
              "destroy");
    }
    cuMemFree_v2(dx);
    cuMemFree_v2(ds);
}

static void test_compiler(const char *text)
{
    static char log[20000];
    int code, major = 0, n = 0, list[64], limit = 0;
    char *image;
    void *m = NULL;
    TEST("compiler");
    CHECK(nvrtcVersion(&major, &n) == 0 && major == 13, "version");
    CHECK(nvrtcGetNumSupportedArchs(&n) == 0 && n == 12 && nvrtcGetSupportedArchs(list) == 0 && list[0] == 75 &&
              list[11] == 121,
          "architectures");
    image = compile("extern \"C\" __global__ void f(int *y)\n{\n    y[0] = undeclared;\n}\n",
                    "--gpu-architecture=sm_80", NULL, &code, log, sizeof log);
    CHECK(code == 6 && !image && strstr(log, "undeclared") && strstr(log, "selftest.cu(3): error") &&
              strstr(log, "1 error"),
          "an error with its line: %d %s", code, log);
    image = compile(text, "--gpu-architecture=sm_70", NULL, &code, log, sizeof log);
    CHECK(code == 5 && !image, "an architecture that is not offered: %d", code);
    image = compile(text, "--gpu-arch=sm_80", NULL, &code, log, sizeof log);
    CHECK(code == 5 && !image && strstr(log, "--gpu-arch"), "an unknown option: %d %s", code, log);
    image = compile("extern \"C\" __global__ void f(int *y) { y[0] = __CUDA_ARCH__; }", "--gpu-architecture=compute_75",
                    NULL, &code, log, sizeof log);
    CHECK(image && !strncmp(image, "//", 2) && strstr(image, ".target sm_75"), "PTX");
    CHECK(cuModuleLoadData(&m, image) == 0 && cuModuleUnload(m) == 0, "PTX of an older architecture loads");
    free(image);
    image = compile("extern \"C\" __global__ void f(int *y) { y[0] = 1; }", "--gpu-architecture=sm_75", NULL, &code,
                    log, sizeof log);
    code = image ? cuModuleLoadData(&m, image) : -1;
    CHECK(code == 209, "a cubin of another major architecture: %d", code);
    free(image);
    CHECK(cuModuleLoadData(&m, "nonsense, but long enough to be looked at as a header of an image ...........") == 200,
          "not an image");
    CHECK(cuDeviceGetAttribute(&limit, 97, 0) == 0 && limit == 163 * 1024, "shared memory of sm_80: %d", limit);
}

static void test_failures(void)
{
    void *f = NULL;
    devptr p[3] = { 0, 0, 0 };
    int n = 1, r;
    void *args[1];
    args[0] = &n;
    TEST("injected failures");
    setenv("EMU_FAIL", "cuMemAlloc:2,cuStreamCreate:1:999", 1);
    CHECK(cuMemAlloc_v2(&p[0], 256) == 0 && cuMemAlloc_v2(&p[1], 256) == 2 && cuMemAlloc_v2(&p[2], 256) == 0,
          "the second of three");
    CHECK(cuStreamCreate(&f, 1) == 999, "with a code");
    setenv("EMU_FAIL", "launch:3", 1);
    CHECK(launch("nothing", 1, 1, 32, 0, args) == 0 && launch("nothing", 1, 1, 32, 0, args) == 0 && finish() == 0,
          "two good launches");
    launch("nothing", 1, 1, 32, 0, args);
    r = finish();
    CHECK(r == 719, "the third is lost: %d", r);
    CHECK(cuMemFree_v2(p[0]) == 719 && cuMemAlloc_v2(&p[0], 16) == 719, "and everything after it");
    setenv("EMU_FAIL", "", 1);
    CHECK(finish() == 719, "for good");
}

/* Each of these spoils its process; what is asked: the code of the next wait, the words of the report, the exit
 * status */
struct fault {
    const char *kernel, *define, *words;
    int code, only_check;
    unsigned threads;
};
static const struct fault faults[] = {
    { "deadlock", NULL, "deadlock: 40 threads wait in a block barrier, 10 in a warp function, 14 have left", 719, 0,
      64 },
    { "wild", NULL, "behind the end", 700, 0, 32 },
    { "add", "-DBREAK=2", "behind the end", 700, 1, 32 },
    { "misaligned", "-DBREAK=1", "misaligned", 716, 0, 1 },
    { "row_sum", "-DBREAK=1", "race", 0, 1, 64 },
    { "histogram", "-DBREAK=3", "race", 0, 1, 64 },
    { "gemm", "-DBREAK=4", "cp_wait", 0, 1, 128 },
    { "gemm", "-DBREAK=5", "race", 0, 1, 128 },
    { "uninitialised", "-DBREAK=6", "uninitialised", 0, 1, 32 },
    { "neighbours", "-DBREAK=7", "race", 0, 1, 32 },
    { "last_block", "-DBREAK=8", "race", 0, 1, 32 },
    { "last_block", "-DBREAK=9", "race", 0, 1, 32 },
    { "array_bounds", NULL, "bounds", 0, 1, 32 },
    { "divergent", NULL, "divergent", 0, 1, 64 },
    { "overlap", NULL, "race", 0, 1, 32 },
    { "forbidden", NULL, "forbidden", 0, 1, 1 },
};
static int child(const struct fault *f, const char *text)
{
    static float zeros[4096];
    int n = 32, m = 32, k = 96, r, i = 9;
    size_t far = 1 << 20;
    devptr x = upload(zeros, sizeof zeros), y = upload(zeros, sizeof zeros), c = upload(zeros, 128 * sizeof *zeros),
           exact = upload(zeros, 32 * sizeof *zeros);
    void *args[6];
    args[0] = &y;
    args[1] = &x;
    args[2] = &n;
    module = load(text, f->define);
    if (!strcmp(f->kernel, "wild")) args[1] = &far;
    if (!strcmp(f->kernel, "add")) {
        args[0] = &exact;
        args[2] = &x;
        args[3] = &n;
    }
    if (!strcmp(f->kernel, "histogram")) {
        args[0] = &c;
        args[1] = &y;
        args[2] = &x;
        args[3] = &k;
        k = 640;
    }
    if (!strcmp(f->kernel, "gemm")) {
        args[2] = &x;
        args[3] = &m;
        args[4] = &n;
        args[5] = &k;
    }
    if (!strcmp(f->kernel, "neighbours") || !strcmp(f->kernel, "forbidden")) args[1] = &n;
    if (!strcmp(f->kernel, "forbidden")) forbid((void *)(uintptr_t)(y + 128), 64, 1);
    if (!strcmp(f->kernel, "array_bounds")) args[1] = &i;
    if (!strcmp(f->kernel, "last_block")) {
        args[0] = &c;
        args[1] = &y;
        args[2] = &x;
    }
    launch(f->kernel,
           !strcmp(f->kernel, "add") || !strcmp(f->kernel, "last_block") || !strcmp(f->kernel, "overlap") ? 2 : 1, 1,
           f->threads, !strcmp(f->kernel, "gemm") ? 2 * 2 * 32 * 24 * 2 : 0, args);
    r = finish();
    if (f->code && r != f->code) {
        fprintf(stderr, "result %d, not %d\n", r, f->code);
        _exit(1);
    }
    if (!strstr(reports(), f->words)) {
        fprintf(stderr, "report: \"%s\"\n", reports());
        _exit(2);
    }
    return 0;
}
static void test_faults(const char *text, const char *self, const char *folder)
{
    size_t i;
    int check = getenv("EMU_CHECK") && atoi(getenv("EMU_CHECK"));
    TEST("device memory on the host");
    {
        char command[2048];
        snprintf(command, sizeof command, "EMU_FAIL= '%s' '%s' host >build/emu/fault.log 2>&1", self, folder);
        CHECK(system(command) != 0, "the host may read device memory");
        text = read_file("build/emu/fault.log", &i);
        CHECK(text && strstr(text, "the host uses device memory"), "no report");
    }
    TEST("faults of kernels");
    for (i = 0; i < sizeof faults / sizeof *faults; i++) {
        char command[2048];
        int status;
        if (faults[i].only_check && !check) continue;
        snprintf(command, sizeof command, "EMU_FAIL= '%s' '%s' %d 2>build/emu/fault.log", self, folder, (int)i);
        status = system(command);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 97, "%s %s: status %d (see build/emu/fault.log)",
              faults[i].kernel, faults[i].define ? faults[i].define : "", WEXITSTATUS(status));
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void report_speed(void)
{
    static float zeros[256 * 1024];
    devptr x = upload(zeros, sizeof zeros), y = upload(zeros, sizeof zeros);
    int n = 4096, m = 256, k = 512, i;
    double start, best[3] = { 1e9, 1e9, 1e9 };
    void *sum[3], *plain[4], *product[6];
    sum[0] = &y;
    sum[1] = &x;
    sum[2] = &n;
    plain[0] = &y;
    plain[1] = &x;
    plain[2] = &x;
    plain[3] = &n;
    product[0] = &y;
    product[1] = &x;
    product[2] = &x;
    product[3] = &m;
    product[4] = &m;
    product[5] = &k;
    for (i = 0; i < 5; i++) {
        start = seconds();
        launch("add", 16, 1, 256, 0, plain);
        finish();
        if (seconds() - start < best[0]) best[0] = seconds() - start;
        start = seconds();
        launch("row_sum", 64, 1, 256, 0, sum);
        finish();
        if (seconds() - start < best[1]) best[1] = seconds() - start;
        start = seconds();
        launch("gemm", 8, 8, 128, 2 * 2 * 32 * 24 * 2, product);
        finish();
        if (seconds() - start < best[2]) best[2] = seconds() - start;
    }
    printf("speed: %.0f ns a thread without synchronization, %.1f us a block of 256 with 10 shuffles and a barrier, "
           "%.0f M multiply-adds/s in mma\n",
           best[0] / 4096 * 1e9, best[1] / 64 * 1e6, 256.0 * 256 * 512 / best[2] * 1e-6);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "build/emu";
    size_t n;
    char *text = read_file("tests/emu/selftest.cu", &n);
    void *context = NULL;
    int devices = 0;
    TEST("loading");
    if (!text) {
        printf("run this from the root of the repository\n");
        return 1;
    }
    cuda = open_library(folder, "libcuda.so.1");
    nvrtc = open_library(folder, "libnvrtc.so.13");
    cublas = open_library(folder, "libcublas.so.13");
#define LIBRARY cuda
    DRIVER(FIND)
#undef LIBRARY
#define LIBRARY nvrtc
    RTC(FIND)
#undef LIBRARY
#define LIBRARY cublas
    BLAS(FIND)
    {
        void *p = dlsym(cuda, "emu_counters");
        memcpy(&counters, &p, sizeof p);
    }
    {
        void *p = dlsym(cuda, "emu_reports");
        memcpy(&reports, &p, sizeof p);
    }
    {
        void *p = dlsym(cuda, "emu_forbid");
        memcpy(&forbid, &p, sizeof p);
    }
    {
        void *p = dlsym(cuda, "emu_forgive");
        memcpy(&forgive, &p, sizeof p);
    }
    CHECK(cuDeviceGetCount(&devices) == 3, "not initialized");
    CHECK(cuInit(0) == 0 && cuDeviceGetCount(&devices) == 0 && devices == 1, "%d devices", devices);
    CHECK(cuStreamCreate(&stream, 1) == 201, "no context");
    CHECK(cuDevicePrimaryCtxRetain(&context, 0) == 0 && cuCtxSetCurrent(context) == 0 &&
              cuStreamCreate(&stream, 1) == 0,
          "context");
    /* the host reads device memory: must not come back */
    if (argc > 2 && !strcmp(argv[2], "host")) return *(volatile char *)(uintptr_t)upload(text, n);
    if (argc > 2) return child(&faults[atoi(argv[2])], text);
    module = load(text, NULL);
    test_compiler(text);
    test_simple();
    test_matrices();
    test_graph();
    report_speed();
    CHECK(counters()->findings == 0, "%llu findings: %s", counters()->findings, reports());
    forgive();
    CHECK(counters()->launches > 10 && counters()->allocations > counters()->frees && counters()->graph_launches == 3 &&
              counters()->gemms == 1,
          "counters");
    test_faults(text, argv[0], folder);
    test_failures();
    free(text);
    return test_end();
}
