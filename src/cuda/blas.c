/* cuda/blas: cuBLAS, opened only when a large product asks for it (it is half a gigabyte), and only whole: libcublas
 * with the libcublasLt of its own folder. A mixture of two installations computes wrong numbers without an error. */
#ifndef HYB_CUDA_BLAS_C
#define HYB_CUDA_BLAS_C
#include "device.c"

typedef struct hyb_cublas {
    hyb_cublas_api api;
    hyb_library library;
    int version[3];
    const char *refused;
} hyb_cublas;

/* A handle belongs to one stream and one thread; its workspace is our memory, so that nothing is allocated while a
 * graph is captured. To destroy a handle waits for the whole device, which breaks what other contexts record: a handle
 * that is no longer needed is kept for the next stream. */
typedef struct hyb_blas_handle {
    void *handle, *workspace;
    hyb_blas_spare *spare;
} hyb_blas_handle;

/* Whether the libcublasLt that the process uses lies beside this libcublas. */
static bool hyb_cublas_is_whole(const hyb_library *lib)
{
#if defined(_WIN32)
    HYB_UNUSED(lib); /* loaded with its own folder first in the search */
    return true;
#else
    char folder[HYB_PATH_MAX], other_folder[HYB_PATH_MAX];
    struct stat a, b;
    hyb_library other;
    const char *suffix = strstr(lib->path, "libcublas.so");
    memset(&other, 0, sizeof other);
    if (!suffix) return true;
    snprintf(other.path, sizeof other.path, "libcublasLt.so%.8s", suffix + 12);
    if (!(other.handle = hyb_library_load(other.path, true))) return true;
    hyb_library_locate(&other, "cublasLtCreate");
    hyb_path_folder(folder, lib->path);
    hyb_path_folder(other_folder, other.path);
    return !folder[0] || !other_folder[0] || stat(folder, &a) || stat(other_folder, &b) ||
           (a.st_dev == b.st_dev && a.st_ino == b.st_ino);
#endif
}

static bool hyb_cublas_accept(void *user, hyb_library *lib)
{
    hyb_cublas *blas = (hyb_cublas *)user;
    const char *missing = NULL;
    int i;
#define HYB_X(required, name, symbol, parameters) \
    if (!hyb_library_symbol(lib, symbol, &blas->api.name) && required) missing = symbol;
    HYB_CUBLAS_LIST(HYB_X)
#undef HYB_X
    hyb_library_locate(lib, "cublasCreate_v2");
    blas->library = *lib;
    if (missing) {
        blas->refused = "it is too old";
        return false;
    }
    if (!hyb_cublas_is_whole(lib)) {
        blas->refused = "libcublasLt comes from another folder: mixed installations compute wrong numbers";
        return false;
    }
    for (i = 0; i < 3; i++) blas->api.cublasGetProperty(i, &blas->version[i]);
    return true;
}

static hybrid_result hyb_cublas_open(hyb_cublas *blas, int driver_version, bool only_override, hybrid_error *error)
{
#if defined(_WIN32)
    static const char *const names[] = { "cublas64_13.dll", "cublas64_12.dll", "cublas64_11.dll", NULL };
    static const char *const firsts[] = { "cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll", NULL };
#else
    static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so.11", NULL };
    static const char *const firsts[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", NULL };
#endif
    /* one that needs a newer driver does not start */
    int newest = driver_version >= 13000 ? 0 : driver_version >= 12000 ? 1 : 2;
    if (hyb_library_find(names + newest, firsts + newest, only_override, hyb_cublas_accept, blas)) return HYBRID_OK;
    if (blas->refused)
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND, "cuBLAS at %.90s is not used: %s", blas->library.path,
                        blas->refused);
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                    "no cuBLAS (%s in HYBRID_CUDA_PATH, the loader's path, toolkit and Python folders): own kernels do "
                    "the large products; "
                    "pip install nvidia-cublas would make prompts faster",
                    names[newest]);
}

/* The table of cuBLAS, opened on the first call; NULL, and the reason, when there is none. Safe to call from several
 * threads. */
static const hyb_cublas *hyb_cuda_blas(hyb_cuda *cu, hybrid_error *why)
{
    hyb_cublas *blas;
    bool asked;
    hyb_spin_take(&cu->blas_lock);
    asked = cu->blas_state != 0;
    if (!asked) {
        cu->blas_state = 2;
        if (!(blas = (hyb_cublas *)hyb_calloc(cu->rt, 1, sizeof *blas)))
            hyb_fail_memory(&cu->blas_why, sizeof *blas);
        else if (hyb_cublas_open(blas, cu->driver.version, cu->driver.library.is_override, &cu->blas_why))
            hyb_free(cu->rt, blas);
        else {
            cu->blas = blas;
            cu->blas_state = 1;
        }
    }
    blas = cu->blas;
    hyb_spin_give(&cu->blas_lock);
    if (!asked && blas)
        hyb_log(cu->rt, HYBRID_LOG_INFO, "cuda: cuBLAS %d.%d.%d (%s)", blas->version[0], blas->version[1],
                blas->version[2], blas->library.path);
    else if (!asked)
        hyb_log(cu->rt, HYBRID_LOG_INFO, "cuda: %s", cu->blas_why.message);
    if (!blas && why) *why = cu->blas_why;
    return blas;
}

static size_t hyb_blas_workspace(int cc) { return (size_t)(cc >= 90 ? 32 : 8) << 20; }

/* A spare handle, or a new one: h->handle, unless a status of cuBLAS is returned. */
static int hyb_blas_take(hyb_cuda *cu, hyb_blas_handle *h)
{
    int code;
    hyb_spin_take(&cu->lock);
    if ((h->spare = cu->blas_spares) != NULL) cu->blas_spares = h->spare->next;
    hyb_spin_give(&cu->lock);
    if (!h->spare) {
        if (!(h->spare = (hyb_blas_spare *)hyb_calloc(cu->rt, 1, sizeof *h->spare))) return HYB_CUBLAS_NO_MEMORY;
        h->spare->destroy = cu->blas->api.cublasDestroy;
        if ((code = cu->blas->api.cublasCreate(&h->spare->handle)) != 0) {
            hyb_free(cu->rt, h->spare);
            h->spare = NULL;
            return code;
        }
    }
    h->handle = h->spare->handle;
    return 0;
}

/* The work of its stream must be done. */
static void hyb_blas_give(hyb_cuda *cu, hyb_blas_handle *h)
{
    if (h->spare) {
        /* the stream and the workspace are about to end */
        if (!hyb_cuda_orphaned(cu)) cu->blas->api.cublasSetStream(h->handle, NULL);
        hyb_spin_take(&cu->lock);
        h->spare->next = cu->blas_spares;
        cu->blas_spares = h->spare;
        hyb_spin_give(&cu->lock);
    }
    hyb_cuda_free(cu, h->workspace);
    memset(h, 0, sizeof *h);
}

/* A handle for a stream. The device's context must be current, and nothing being captured. */
static hybrid_result hyb_blas_create(hyb_cuda *cu, void *stream, hyb_blas_handle *h, hybrid_error *error)
{
    const hyb_cublas *blas = hyb_cuda_blas(cu, error);
    const size_t bytes = hyb_blas_workspace(cu->cc);
    hybrid_result r;
    int code;
    if (!blas) return HYBRID_ERROR_NOT_FOUND;
    if (!h->workspace && (r = hyb_cuda_alloc(cu, bytes, &h->workspace, error)) != HYBRID_OK) return r;
    if ((code = hyb_blas_take(cu, h)) == 0 && (code = blas->api.cublasSetStream(h->handle, stream)) == 0 &&
        (code = blas->api.cublasSetWorkspace(h->handle, h->workspace, bytes)) == 0)
        code = blas->api.cublasSetMathMode(h->handle, HYB_CUBLAS_NO_REDUCED_PRECISION);
    if (!code) return HYBRID_OK;
    hyb_blas_give(cu, h);
    return hyb_fail(error, HYBRID_ERROR_DEVICE, "cuBLAS %d.%d does not start on '%.60s' (status %d)", blas->version[0],
                    blas->version[1], cu->name, code);
}
#endif
