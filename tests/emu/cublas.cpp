/* libcublas.so.13: the few products that hybrid asks for, in the order of the stream (libcuda runs them: deferred,
 * captured, replayed). Column-major as in BLAS; sums are float. */
#include "common.h"
#include <cmath>
#include <vector>

extern "C" {
int emu_enqueue(void *stream, int (*run)(const void *data), const void *data, size_t bytes);
int emu_has_context();
int emu_device_range(const void *p, size_t bytes);
void emu_written(const void *p, size_t bytes);
void emu_blas_handle(int change);
}

enum {
    SUCCESS = 0,
    NOT_INITIALIZED = 1,
    ALLOC_FAILED = 3,
    INVALID_VALUE = 7,
    EXECUTION_FAILED = 13,
    NOT_SUPPORTED = 15
};
enum { R_32F = 0, R_16F = 2, R_16BF = 14 };
struct Handle {
    void *stream = nullptr;
};

EMU_API const char *cublasGetStatusString(int s)
{
    switch (s) {
    case SUCCESS: return "the operation completed successfully";
    case NOT_INITIALIZED: return "the library was not initialized";
    case ALLOC_FAILED: return "the resource allocation failed";
    case INVALID_VALUE: return "an unsupported value or parameter was passed to the function";
    case EXECUTION_FAILED: return "the function failed to launch on the GPU";
    case NOT_SUPPORTED: return "the functionality requested is not supported";
    default: return "unknown";
    }
}
EMU_API const char *cublasGetStatusName(int s) { return s ? "CUBLAS_STATUS_ERROR" : "CUBLAS_STATUS_SUCCESS"; }
EMU_API int cublasGetProperty(int type, int *v)
{
    *v = type == 0 ? 13 : 0;
    return SUCCESS;
}
EMU_API int cublasGetVersion_v2(void *, int *v)
{
    *v = 130000;
    return SUCCESS;
}
EMU_API int cublasCreate_v2(void **out)
{
    if (int e = emu_injected(__func__, ALLOC_FAILED)) return e;
    if (!emu_has_context()) return NOT_INITIALIZED;
    *out = new Handle;
    emu_blas_handle(1);
    return SUCCESS;
}
EMU_API int cublasDestroy_v2(void *h)
{
    if (!h) return NOT_INITIALIZED;
    delete (Handle *)h;
    emu_blas_handle(-1);
    return SUCCESS;
}
EMU_API int cublasSetStream_v2(void *h, void *s)
{
    if (!h) return NOT_INITIALIZED;
    ((Handle *)h)->stream = s;
    return SUCCESS;
}
EMU_API int cublasGetStream_v2(void *h, void **s)
{
    if (!h) return NOT_INITIALIZED;
    *s = ((Handle *)h)->stream;
    return SUCCESS;
}
EMU_API int cublasSetMathMode(void *h, int) { return h ? SUCCESS : NOT_INITIALIZED; }
EMU_API int cublasSetAtomicsMode(void *h, int) { return h ? SUCCESS : NOT_INITIALIZED; }
EMU_API int cublasSetPointerMode_v2(void *h, int mode) { return !h ? NOT_INITIALIZED : mode ? NOT_SUPPORTED : SUCCESS; }
EMU_API int cublasSetWorkspace_v2(void *h, void *p, size_t n)
{
    return !h ? NOT_INITIALIZED : n && !emu_device_range(p, n) ? INVALID_VALUE : SUCCESS;
}

static float h2f(unsigned h)
{
    unsigned sign = (h & 0x8000u) << 16, e = h >> 10 & 31u, m = h & 0x3ffu, u;
    float f;
    if (!e) {
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    u = sign | (e == 31 ? 0x7f800000u : (e + 112u) << 23) | m << 13;
    memcpy(&f, &u, 4);
    return f;
}
static unsigned short f2h(float f)
{
    unsigned u, sign, a;
    memcpy(&u, &f, 4);
    sign = u >> 16 & 0x8000u;
    a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
    if (a < 0x38800000u) {
        float x;
        memcpy(&x, &a, 4);
        return (unsigned short)(sign | (unsigned)rintf(x * 0x1p24f));
    }
    return (unsigned short)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
}
static float get(const void *p, int type, size_t i)
{
    if (type == R_32F) return ((const float *)p)[i];
    unsigned h = ((const unsigned short *)p)[i];
    if (type == R_16F) return h2f(h);
    h <<= 16;
    float f;
    memcpy(&f, &h, 4);
    return f;
}
static void put(void *p, int type, size_t i, float f)
{
    if (type == R_32F) {
        ((float *)p)[i] = f;
        return;
    }
    unsigned u;
    memcpy(&u, &f, 4);
    ((unsigned short *)p)[i] =
        type == R_16F
            ? f2h(f)
            : (unsigned short)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
static size_t width(int type) { return type == R_32F ? 4 : 2; }

struct Product {
    int ta, tb, m, n, k, at, bt, ct, lda, ldb, ldc, batch;
    long long sa, sb, sc;
    float alpha, beta;
    const char *a, *b;
    char *c;
};

static int multiply(const void *data)
{
    const Product *p = (const Product *)data;
    std::vector<float> a((size_t)p->m * p->k), b((size_t)p->k * p->n), column((size_t)p->m);
    for (int i = 0; i < p->batch; i++) {
        const char *pa = p->a + (size_t)(p->sa * i) * width(p->at), *pb = p->b + (size_t)(p->sb * i) * width(p->bt);
        char *pc = p->c + (size_t)(p->sc * i) * width(p->ct);
        for (int k = 0; k < p->k; k++) /* a: (k, m), so that the inner loop runs over neighbours */
            for (int r = 0; r < p->m; r++)
                a[(size_t)k * p->m + r] = get(pa, p->at, p->ta ? (size_t)r * p->lda + k : (size_t)k * p->lda + r);
        for (int c = 0; c < p->n; c++)
            for (int k = 0; k < p->k; k++)
                b[(size_t)c * p->k + k] = get(pb, p->bt, p->tb ? (size_t)k * p->ldb + c : (size_t)c * p->ldb + k);
        for (int c = 0; c < p->n; c++) {
            std::fill(column.begin(), column.end(), 0.0f);
            for (int k = 0; k < p->k; k++) {
                const float x = b[(size_t)c * p->k + k], *row = &a[(size_t)k * p->m];
                for (int r = 0; r < p->m; r++) column[r] += row[r] * x;
            }
            for (int r = 0; r < p->m; r++) {
                size_t at = (size_t)c * p->ldc + r;
                put(pc, p->ct, at, p->alpha * column[r] + (p->beta != 0 ? p->beta * get(pc, p->ct, at) : 0.0f));
            }
            emu_written(pc + (size_t)c * p->ldc * width(p->ct), (size_t)p->m * width(p->ct));
        }
    }
    return 0;
}

static int enqueue(void *h, Product p)
{
    if (!h) return NOT_INITIALIZED;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0 || !p.a || !p.b || !p.c) return INVALID_VALUE;
    if (p.lda < (p.ta ? p.k : p.m) || p.ldb < (p.tb ? p.n : p.k) || p.ldc < p.m) return INVALID_VALUE;
    if (!p.m || !p.n || !p.batch) return SUCCESS;
    auto reach = [&](int rows, int columns, int ld, long long stride) {
        return (size_t)(stride * (p.batch - 1)) + (size_t)ld * (columns - 1) + rows;
    };
    if (!emu_device_range(p.a, width(p.at) * (p.ta ? reach(p.k, p.m, p.lda, p.sa) : reach(p.m, p.k, p.lda, p.sa))) ||
        !emu_device_range(p.b, width(p.bt) * (p.tb ? reach(p.n, p.k, p.ldb, p.sb) : reach(p.k, p.n, p.ldb, p.sb))) ||
        !emu_device_range(p.c, width(p.ct) * reach(p.m, p.n, p.ldc, p.sc))) {
        fprintf(stderr, "emu: cuBLAS: a matrix reaches beyond its device memory (m %d, n %d, k %d)\n", p.m, p.n, p.k);
        return INVALID_VALUE;
    }
    return emu_enqueue(((Handle *)h)->stream, multiply, &p, sizeof p) ? EXECUTION_FAILED : SUCCESS;
}
static bool good_types(int at, int bt, int ct, int compute)
{
    if (compute != 68 && compute != 69 && compute != 77) return false; /* 32F, 32F_PEDANTIC, 32F_FAST_TF32 */
    if (at != bt || (at != R_32F && at != R_16F && at != R_16BF)) return false;
    return ct == R_32F || ct == at;
}
EMU_API int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                                       int at, int lda, long long sa, const void *b, int bt, int ldb, long long sb,
                                       const void *beta, void *c, int ct, int ldc, long long sc, int batch, int compute,
                                       int)
{
    if (int e = emu_injected(__func__, EXECUTION_FAILED)) return e;
    if (!good_types(at, bt, ct, compute)) return NOT_SUPPORTED;
    /* clang-format off */
    return enqueue(h, Product{ ta, tb, m, n, k, at, bt, ct, lda, ldb, ldc, batch, sa, sb, sc, *(const float *)alpha,
                              *(const float *)beta, (const char *)a, (const char *)b, (char *)c });
    /* clang-format on */
}
EMU_API int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at,
                         int lda, const void *b, int bt, int ldb, const void *beta, void *c, int ct, int ldc,
                         int compute, int)
{
    if (int e = emu_injected(__func__, EXECUTION_FAILED)) return e;
    if (!good_types(at, bt, ct, compute)) return NOT_SUPPORTED;
    /* clang-format off */
    return enqueue(h, Product{ ta, tb, m, n, k, at, bt, ct, lda, ldb, ldc, 1, 0, 0, 0, *(const float *)alpha,
                              *(const float *)beta, (const char *)a, (const char *)b, (char *)c });
    /* clang-format on */
}
EMU_API int cublasSgemm_v2(void *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda,
                           const float *b, int ldb, const float *beta, float *c, int ldc)
{
    if (int e = emu_injected(__func__, EXECUTION_FAILED)) return e;
    /* clang-format off */
    return enqueue(h, Product{ ta, tb, m, n, k, R_32F, R_32F, R_32F, lda, ldb, ldc, 1, 0, 0, 0, *alpha, *beta,
                              (const char *)a, (const char *)b, (char *)c });
    /* clang-format on */
}
