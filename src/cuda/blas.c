/* cuda/blas: cuBLAS, opened only when a large product asks for it (it is half a gigabyte), and only whole: libcublas with the
 * libcublasLt of its own folder. A mixture of two installations computes wrong numbers without an error. */

typedef struct hybrid__cublas {
    hybrid__cublas_api api;
    hybrid__library    library;
    int                version[3];
    const char        *refused;
} hybrid__cublas;

/* A handle belongs to one stream and one thread; its workspace is our memory, so that nothing is allocated while a graph is captured. The end of a
 * handle waits for the whole device, which breaks what other contexts record: a handle that is no longer needed waits for the next stream. */
typedef struct hybrid__blas_handle { void *handle, *workspace; hybrid__blas_spare *spare; } hybrid__blas_handle;

/* Whether the libcublasLt that the process uses lies beside this libcublas. */
static bool hybrid__cublas_is_whole(const hybrid__library *lib)
{
#if defined(_WIN32)
    HYBRID__UNUSED(lib);                                     /* loaded with its own folder first in the search */
    return true;
#else
    char folder[HYBRID__PATH_MAX], other_folder[HYBRID__PATH_MAX];
    struct stat a, b;
    hybrid__library other;
    const char *suffix = strstr(lib->path, "libcublas.so");
    memset(&other, 0, sizeof other);
    if (!suffix) return true;
    snprintf(other.path, sizeof other.path, "libcublasLt.so%.8s", suffix + 12);
    if (!(other.handle = hybrid__library_load(other.path, true))) return true;
    hybrid__library_locate(&other, "cublasLtCreate");
    hybrid__path_folder(folder, lib->path);
    hybrid__path_folder(other_folder, other.path);
    return !folder[0] || !other_folder[0] || stat(folder, &a) || stat(other_folder, &b) || (a.st_dev == b.st_dev && a.st_ino == b.st_ino);
#endif
}

static bool hybrid__cublas_accept(void *user, hybrid__library *lib)
{
    hybrid__cublas *blas = (hybrid__cublas *)user;
    const char *missing = NULL;
    int i;
#define HYBRID__X(required, name, symbol, parameters) if (!hybrid__library_symbol(lib, symbol, &blas->api.name) && required) missing = symbol;
    HYBRID__CUBLAS_LIST(HYBRID__X)
#undef HYBRID__X
    hybrid__library_locate(lib, "cublasCreate_v2");
    blas->library = *lib;
    if (missing) { blas->refused = "it is too old"; return false; }
    if (!hybrid__cublas_is_whole(lib)) { blas->refused = "libcublasLt comes from another folder: mixed installations compute wrong numbers"; return false; }
    for (i = 0; i < 3; i++) blas->api.cublasGetProperty(i, &blas->version[i]);
    return true;
}

static hybrid_result hybrid__cublas_open(hybrid__cublas *blas, int driver_version, bool only_override, hybrid_error *error)
{
#if defined(_WIN32)
    static const char *const names[] = { "cublas64_13.dll", "cublas64_12.dll", "cublas64_11.dll", NULL };
    static const char *const firsts[] = { "cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll", NULL };
#else
    static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so.11", NULL };
    static const char *const firsts[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", NULL };
#endif
    int newest = driver_version >= 13000 ? 0 : driver_version >= 12000 ? 1 : 2;      /* one for a newer driver does not start */
    if (hybrid__library_find(names + newest, firsts + newest, only_override, hybrid__cublas_accept, blas)) return HYBRID_OK;
    if (blas->refused) return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "cuBLAS at %.90s is not used: %s", blas->library.path, blas->refused);
    return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "no cuBLAS (%s in HYBRID_CUDA_PATH, the loader's path, toolkit and Python folders): own kernels do the large products; "
                        "pip install nvidia-cublas would make prompts faster", names[newest]);
}

/* The table of cuBLAS, opened on the first call; NULL, and the reason, when there is none. Safe to call from several threads. */
static const hybrid__cublas *hybrid__cuda_blas(hybrid__cuda *cu, hybrid_error *why)
{
    hybrid__cublas *blas;
    bool asked;
    hybrid__spin_take(&cu->blas_lock);
    asked = cu->blas_state != 0;
    if (!asked) {
        cu->blas_state = 2;
        if (!(blas = (hybrid__cublas *)hybrid__calloc(cu->rt, 1, sizeof *blas))) hybrid__fail_memory(&cu->blas_why, sizeof *blas);
        else if (hybrid__cublas_open(blas, cu->driver.version, cu->driver.library.is_override, &cu->blas_why)) hybrid__free(cu->rt, blas);
        else {
            cu->blas = blas;
            cu->blas_state = 1;
        }
    }
    blas = cu->blas;
    hybrid__spin_give(&cu->blas_lock);
    if (!asked && blas) hybrid__log(cu->rt, HYBRID_LOG_INFO, "cuda: cuBLAS %d.%d.%d (%s)", blas->version[0], blas->version[1], blas->version[2], blas->library.path);
    else if (!asked) hybrid__log(cu->rt, HYBRID_LOG_INFO, "cuda: %s", cu->blas_why.message);
    if (!blas && why) *why = cu->blas_why;
    return blas;
}

static size_t hybrid__blas_workspace(int cc) { return (size_t)(cc >= 90 ? 32 : 8) << 20; }

/* A spare handle, or a new one: h->handle, unless a status of cuBLAS is returned. */
static int hybrid__blas_take(hybrid__cuda *cu, hybrid__blas_handle *h)
{
    int code;
    hybrid__spin_take(&cu->lock);
    if ((h->spare = cu->blas_spares) != NULL) cu->blas_spares = h->spare->next;
    hybrid__spin_give(&cu->lock);
    if (!h->spare) {
        if (!(h->spare = (hybrid__blas_spare *)hybrid__calloc(cu->rt, 1, sizeof *h->spare))) return HYBRID__CUBLAS_NO_MEMORY;
        h->spare->destroy = cu->blas->api.cublasDestroy;
        if ((code = cu->blas->api.cublasCreate(&h->spare->handle)) != 0) {
            hybrid__free(cu->rt, h->spare);
            h->spare = NULL;
            return code;
        }
    }
    h->handle = h->spare->handle;
    return 0;
}

/* The work of its stream must be done. */
static void hybrid__blas_give(hybrid__cuda *cu, hybrid__blas_handle *h)
{
    if (h->spare) {
        if (!hybrid__cuda_orphaned(cu)) cu->blas->api.cublasSetStream(h->handle, NULL);         /* the stream and the workspace end */
        hybrid__spin_take(&cu->lock);
        h->spare->next = cu->blas_spares;
        cu->blas_spares = h->spare;
        hybrid__spin_give(&cu->lock);
    }
    hybrid__cuda_free(cu, h->workspace);
    memset(h, 0, sizeof *h);
}

/* A handle for a stream. The device's context must be current, and nothing being captured. */
static hybrid_result hybrid__blas_create(hybrid__cuda *cu, void *stream, hybrid__blas_handle *h, hybrid_error *error)
{
    const hybrid__cublas *blas = hybrid__cuda_blas(cu, error);
    const size_t bytes = hybrid__blas_workspace(cu->cc);
    hybrid_result r;
    int code;
    if (!blas) return HYBRID_ERROR_NOT_FOUND;
    if (!h->workspace && (r = hybrid__cuda_alloc(cu, bytes, &h->workspace, error)) != HYBRID_OK) return r;
    if ((code = hybrid__blas_take(cu, h)) == 0 && (code = blas->api.cublasSetStream(h->handle, stream)) == 0 && (code = blas->api.cublasSetWorkspace(h->handle, h->workspace, bytes)) == 0)
        code = blas->api.cublasSetMathMode(h->handle, HYBRID__CUBLAS_NO_REDUCED_PRECISION);
    if (!code) return HYBRID_OK;
    hybrid__blas_give(cu, h);
    return hybrid__fail(error, HYBRID_ERROR_DEVICE, "cuBLAS %d.%d does not start on '%.60s' (status %d)", blas->version[0], blas->version[1], cu->name, code);
}
