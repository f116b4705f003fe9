/* cuda/jit: from the text of kernels to functions on the device: which NVRTC, for which architecture, compiled or from
 * the cache. A module is loaded or compiled when one of its kernels is first asked for. One compilation at a time: old
 * versions need that, and newer ones gain nothing from two. The host's own functions (log, load, store) are called
 * without the lock. */
#ifndef HYB_CUDA_JIT_C
#define HYB_CUDA_JIT_C
#include "driver.c"
#include "modules.c"
#include "cache.c"

/* ---- architecture: a pure choice --------------------------------------------------------------------------------- */

/* 90: sm_90 as a binary, or compute_90 as PTX; 0: none */
typedef struct hyb_target {
    int number;
    bool ptx;
} hyb_target;

/* Chips of the Jetson family: their binaries run on no other chip, and those of other chips not on them. */
static bool hyb_is_tegra(int number)
{
    return number == 53 || number == 62 || number == 72 || number == 87 || number == 101 || number == 110;
}

/* The best target for a device of capability cc (major * 10 + minor) among those that an NVRTC offers (in any order):
 * the very same; a binary for an earlier minor version, which later ones run; PTX of an earlier version, which the
 * driver translates; or none. */
static hyb_target hyb_target_choose(int cc, const int *archs, int n)
{
    hyb_target binary = { 0, false }, ptx = { 0, true };
    int i;
    for (i = 0; i < n; i++) {
        if (archs[i] > cc || archs[i] <= 0) continue;
        if (archs[i] == cc) {
            binary.number = cc;
            return binary;
        }
        if (archs[i] / 10 == cc / 10 && !hyb_is_tegra(archs[i]) && !hyb_is_tegra(cc))
            binary.number = HYB_MAX(binary.number, archs[i]);
        ptx.number = HYB_MAX(ptx.number, archs[i]);
    }
    return binary.number ? binary : ptx;
}

/* ---- NVRTC ------------------------------------------------------------------------------------------------------- */

typedef struct hyb_nvrtc {
    hyb_nvrtc_api api;
    hyb_library library;
    int major, minor;
    hyb_target arch; /* what it makes for the device that it was opened for */
    int cc;
    char refused[96]; /* what was found and could not be used, in words */
} hyb_nvrtc;

/* NVRTC opens its library of built-ins by bare name when it compiles: outside the loader's path that fails, unless
 * it is there already. */
static void hyb_nvrtc_builtins(const hyb_nvrtc *nvrtc)
{
    char folder[HYB_PATH_MAX], path[HYB_PATH_MAX], name[64];
    hyb_path_folder(folder, nvrtc->library.path);
#if defined(_WIN32)
    snprintf(name, sizeof name, "nvrtc-builtins64_%d%d.dll", nvrtc->major, nvrtc->minor);
#else
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", nvrtc->major, nvrtc->minor);
#endif
    if (folder[0] && hyb_path_join(path, folder, name)) hyb_library_load(path, false);
}

static bool hyb_nvrtc_accept(void *user, hyb_library *lib)
{
    hyb_nvrtc *nvrtc = (hyb_nvrtc *)user;
    const char *missing = NULL;
    int archs[128], n = 0;
#define HYB_X(required, name, symbol, parameters) \
    if (!hyb_library_symbol(lib, symbol, &nvrtc->api.name) && required) missing = symbol;
    HYB_NVRTC_LIST(HYB_X)
#undef HYB_X
    hyb_library_locate(lib, "nvrtcVersion");
    nvrtc->library = *lib;
    if (missing || nvrtc->api.nvrtcVersion(&nvrtc->major, &nvrtc->minor) || nvrtc->api.nvrtcGetNumSupportedArchs(&n) ||
        n < 1 || n > 128 || nvrtc->api.nvrtcGetSupportedArchs(archs)) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "%.70s is too old", lib->path);
        return false;
    }
    nvrtc->arch = hyb_target_choose(nvrtc->cc, archs, n);
    if (!nvrtc->arch.number) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "NVRTC %d.%d no longer knows a GPU of capability %d.%d",
                 nvrtc->major, nvrtc->minor, nvrtc->cc / 10, nvrtc->cc % 10);
        return false;
    }
    hyb_nvrtc_builtins(nvrtc);
    return true;
}

/* The names of NVRTC, that of a CUDA version first: binaries of a newer one may not load in an older driver. */
static void hyb_nvrtc_names(int driver_version, const char *names[5])
{
#if defined(_WIN32)
    static const char *const all[] = { "nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll" };
#else
    static const char *const all[] = { "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2" };
#endif
    int i, n = 0, newest = driver_version >= 13000 ? 0 : driver_version >= 12000 ? 1 : 2;
    for (i = newest; i < 3; i++) names[n++] = all[i];
    for (i = newest - 1; i >= 0; i--) names[n++] = all[i];
#if !defined(_WIN32)
    names[n++] = "libnvrtc.so";
#endif
    names[n] = NULL;
}

/* Opens the NVRTC that can compile for a device of capability cc: the newest that the driver fits, older ones for
 * older devices. */
static hybrid_result hyb_nvrtc_open(hyb_nvrtc *nvrtc, int cc, int driver_version, bool only_override,
                                    hybrid_error *error)
{
    const char *names[5];
    memset(nvrtc, 0, sizeof *nvrtc);
    nvrtc->cc = cc;
    hyb_nvrtc_names(driver_version, names);
    if (hyb_library_find(names, NULL, only_override, hyb_nvrtc_accept, nvrtc)) return HYBRID_OK;
    if (nvrtc->refused[0])
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "no CUDA compiler for this GPU: %s; an older one will do: pip install nvidia-cuda-nvrtc-cu12, "
                        "or set HYBRID_CUDA_PATH to the folder of its library",
                        nvrtc->refused);
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                    "driver found, but no NVRTC (%s in HYBRID_CUDA_PATH, the loader's path, CUDA_PATH, toolkit, Conda, "
                    "Python folders); "
                    "pip install nvidia-cuda-nvrtc, or set HYBRID_CUDA_PATH to its folder",
                    names[0]);
}

/* ---- the locale: NVRTC before 12.6.2 leaves another one behind --------------------------------------------------- */

typedef struct hyb_locale {
#if defined(_WIN32)
    int threads;
    char name[256];
#else
    void *(*use)(void *locale); /* uselocale, which -std=c99 hides */
    void *of_thread;
#endif
} hyb_locale;

static void hyb_locale_keep(hyb_locale *kept)
{
#if defined(_WIN32)
    const char *name;
    kept->threads = _configthreadlocale(_ENABLE_PER_THREAD_LOCALE);
    name = setlocale(LC_ALL, NULL);
    snprintf(kept->name, sizeof kept->name, "%s", name && strlen(name) < sizeof kept->name ? name : "");
#else
    void *self = dlopen(NULL, RTLD_LAZY), *function = self ? dlsym(self, "uselocale") : NULL;
    memcpy(&kept->use, &function, sizeof function);
    kept->of_thread = kept->use ? kept->use(NULL) : NULL;
    if (self) dlclose(self);
#endif
}

static void hyb_locale_restore(const hyb_locale *kept)
{
#if defined(_WIN32)
    if (kept->name[0]) setlocale(LC_ALL, kept->name);
    if (kept->threads > 0) _configthreadlocale(kept->threads);
#else
    if (kept->use && kept->of_thread && kept->use(NULL) != kept->of_thread) kept->use(kept->of_thread);
#endif
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

/* The parts of a module in one text, freed by the caller; NULL when the host has no memory. */
static char *hyb_module_text(hybrid_runtime *rt, const hyb_cuda_module_info *info, size_t *size)
{
    char *text = NULL, *at;
    int pass, i, j;
    for (pass = 0, at = NULL; pass < 2; pass++) {
        size_t n = 0;
        for (i = 0; i < 4 && info->parts[i]; i++)
            for (j = 0; info->parts[i][j]; j++) {
                size_t length = strlen(info->parts[i][j]);
                if (at) memcpy(at + n, info->parts[i][j], length);
                n += length;
            }
        *size = n;
        if (pass)
            text[n] = 0;
        else if (!(text = at = (char *)hyb_alloc(rt, n + 1)))
            return NULL;
    }
    return text;
}

/* The compiler's messages, freed by the caller, or NULL; the first of its lines that names an error goes into
 * `line`. */
static char *hyb_nvrtc_words(hybrid_runtime *rt, const hyb_nvrtc *nvrtc, void *program, char *line, size_t capacity)
{
    size_t size = 0;
    char *log = NULL, *p, *end;
    bool found = false;
    snprintf(line, capacity, "the compiler gives no reason");
    if (nvrtc->api.nvrtcGetProgramLogSize(program, &size) || size < 2 || !(log = (char *)hyb_calloc(rt, size + 1, 1)))
        return NULL;
    if (nvrtc->api.nvrtcGetProgramLog(program, log)) log[0] = 0;
    for (p = log; *p && !found; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        if (end == p) continue;
        snprintf(line, capacity, "%.*s", (int)(end - p), p);
        found = strstr(line, "error") != NULL;
    }
    return log;
}

/* Into the log, line by line, and freed. */
static void hyb_nvrtc_log(hybrid_runtime *rt, char *words)
{
    char *p, *end;
    for (p = words; p && *p; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        hyb_log(rt, HYBRID_LOG_ERROR, "nvrtc: %.*s", (int)HYB_MIN(end - p, 480), p);
    }
    hyb_free(rt, words);
}

enum { HYB_NVRTC_NO_MEMORY = 1 };

/* Compiles text for nvrtc->arch. *data: the binary or PTX with a zero after it; *words: the compiler's messages about
 * an error, for hyb_nvrtc_log, or NULL. Both are freed by the caller. */
static hybrid_result hyb_nvrtc_compile(hybrid_runtime *rt, const hyb_nvrtc *nvrtc, const hyb_cuda_module_info *info,
                                       const char *text, void **data, size_t *size, char **words, hybrid_error *error)
{
    const char *options[8];
    char arch[40], name[80], line[200];
    void *program = NULL;
    hyb_locale locale;
    hybrid_result r = HYBRID_OK;
    int code, i, n = 0;
    snprintf(arch, sizeof arch, "--gpu-architecture=%s_%d", nvrtc->arch.ptx ? "compute" : "sm", nvrtc->arch.number);
    snprintf(name, sizeof name, "%.60s.cu", info->name);
    options[n++] = arch;
    options[n++] = "--std=c++17";
    for (i = 0; i < 4 && info->options[i]; i++) options[n++] = info->options[i];
    *data = NULL;
    *size = 0;
    *words = NULL;
    hyb_locale_keep(&locale);
    if ((code = nvrtc->api.nvrtcCreateProgram(&program, text, name, 0, NULL, NULL)) == 0)
        code = nvrtc->api.nvrtcCompileProgram(program, n, options);
    hyb_locale_restore(&locale);
    if (code) {
        if (program)
            *words = hyb_nvrtc_words(rt, nvrtc, program, line, sizeof line);
        else
            snprintf(line, sizeof line, "no memory for the compiler");
        r = hyb_fail(error, code == HYB_NVRTC_NO_MEMORY ? HYBRID_ERROR_MEMORY : HYBRID_ERROR_UNSUPPORTED,
                     "NVRTC %d.%d cannot compile the kernels '%.40s' for %s (error %d): %.140s", nvrtc->major,
                     nvrtc->minor, info->name, arch + 19, code, line);
    } else if ((nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTXSize(program, size)
                                : nvrtc->api.nvrtcGetCUBINSize(program, size)) ||
               !*size) {
        r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                     "NVRTC %d.%d compiled the kernels '%.40s' for %s, but gave no binary", nvrtc->major, nvrtc->minor,
                     info->name, arch + 19);
    } else if (!(*data = hyb_calloc(rt, *size + 1, 1))) {
        r = hyb_fail_memory(error, *size + 1);
    } else {
        code = nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTX(program, (char *)*data)
                               : nvrtc->api.nvrtcGetCUBIN(program, (char *)*data);
        if (code)
            r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "NVRTC %d.%d does not give the kernels '%.40s' (error %d)",
                         nvrtc->major, nvrtc->minor, info->name, code);
    }
    if (program) nvrtc->api.nvrtcDestroyProgram(&program);
    if (r) {
        hyb_free(rt, *data);
        *data = NULL;
    }
    return r;
}

/* ---- modules on a device ----------------------------------------------------------------------------------------- */


typedef struct hyb_module_slot {
    volatile uint64_t ready; /* 1: loaded, and the fields below are valid */
    void *module;
    void *functions[HYB_MODULE_KERNELS];
    unsigned shared[HYB_MODULE_KERNELS]; /* bytes of dynamic shared memory that were asked for */
    bool failed;                         /* for good: the same text will not compile the next time */
    hybrid_error why;
} hyb_module_slot;

typedef struct hyb_jit {
    hybrid_runtime *rt;
    const hyb_driver *driver;
    const hyb_cuda_module_info *(*info)(int module);
    hyb_module_slot *slots;
    int n_slots, cc;
    hyb_spin lock; /* of the fields below and the slots; held while anything is compiled or loaded */
    hyb_nvrtc nvrtc;
    int nvrtc_state; /* 0 not looked for, 1 there, 2 absent */
    hybrid_error nvrtc_why;
    hyb_cache cache;
    unsigned n_compiled, n_from_cache;
} hyb_jit;

static hybrid_result hyb_jit_create(hyb_jit *jit, hybrid_runtime *rt, const hyb_driver *driver, int cc,
                                    const hyb_cuda_module_info *(*info)(int module), int n_modules,
                                    const hybrid_kernel_cache *cache, hybrid_error *error)
{
    memset(jit, 0, sizeof *jit);
    jit->rt = rt;
    jit->driver = driver;
    jit->info = info;
    jit->n_slots = n_modules;
    jit->cc = cc;
    if (!(jit->slots = (hyb_module_slot *)hyb_calloc(rt, (size_t)n_modules, sizeof *jit->slots)))
        return hyb_fail_memory(error, (size_t)n_modules * sizeof *jit->slots);
    hyb_cache_create(&jit->cache, rt, cache);
    return HYBRID_OK;
}

/* The device's context must be current. */
static void hyb_jit_destroy(hyb_jit *jit)
{
    int i;
    for (i = 0; i < jit->n_slots; i++)
        if (jit->slots[i].module) jit->driver->api.cuModuleUnload(jit->slots[i].module);
    hyb_free(jit->rt, jit->slots);
}

/* Opens NVRTC on the first call; when it returns OK, jit->nvrtc is valid. */
static hybrid_result hyb_jit_nvrtc(hyb_jit *jit, hybrid_error *error)
{
    const uint64_t start = hyb_now_us();
    bool first;
    hyb_spin_take(&jit->lock);
    first = jit->nvrtc_state == 0;
    if (first)
        jit->nvrtc_state = hyb_nvrtc_open(&jit->nvrtc, jit->cc, jit->driver->version, jit->driver->library.is_override,
                                          &jit->nvrtc_why)
                               ? 2
                               : 1;
    hyb_spin_give(&jit->lock);
    if (jit->nvrtc_state == 2 && error) *error = jit->nvrtc_why;
    if (jit->nvrtc_state == 2) return jit->nvrtc_why.result;
    if (first)
        hyb_log(jit->rt, HYBRID_LOG_INFO, "cuda: NVRTC %d.%d (%s) makes %s_%d, opened in %.0f ms", jit->nvrtc.major,
                jit->nvrtc.minor, jit->nvrtc.library.path, jit->nvrtc.arch.ptx ? "compute" : "sm",
                jit->nvrtc.arch.number, (double)(hyb_now_us() - start) / 1000);
    return HYBRID_OK;
}

static void hyb_jit_key(const hyb_jit *jit, const hyb_cuda_module_info *info, const char *text, size_t size,
                        hyb_cache_key *key)
{
    char target[96];
    int i, n = snprintf(target, sizeof target, "%.40s nvrtc %d.%d %s_%d", info->name, jit->nvrtc.major,
                        jit->nvrtc.minor, jit->nvrtc.arch.ptx ? "compute" : "sm", jit->nvrtc.arch.number);
    memset(key, 0, sizeof *key);
    hyb_cache_key_add(key, target, (size_t)n);
    for (i = 0; i < 4 && info->options[i]; i++) hyb_cache_key_add(key, info->options[i], strlen(info->options[i]));
    hyb_cache_key_add(key, text, size);
}

/* The driver's part: from a binary to functions. */
static hybrid_result hyb_jit_load(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                  const void *binary, hybrid_error *error)
{
    char what[96];
    int i, code = jit->driver->api.cuModuleLoadData(&slot->module, binary);
    snprintf(what, sizeof what, "loading the kernels '%.40s'", info->name);
    if (code) slot->module = NULL;
    for (i = 0; !code && i < HYB_MODULE_KERNELS && info->kernels[i]; i++) {
        code = jit->driver->api.cuModuleGetFunction(&slot->functions[i], slot->module, info->kernels[i]);
        if (code) snprintf(what, sizeof what, "finding the kernel '%.32s' in '%.32s'", info->kernels[i], info->name);
    }
    if (!code) return HYBRID_OK;
    if (slot->module) jit->driver->api.cuModuleUnload(slot->module);
    slot->module = NULL;
    return hyb_driver_fail(jit->driver, error, code, what);
}

/* The memory of one thread that makes a module. */
typedef struct hyb_jit_work {
    char *text, *words;  /* of the module, and of the compiler */
    void *cached, *made; /* binaries */
    size_t text_size, cached_size, made_size;
    bool from_cache;
} hyb_jit_work;

/* From the cached binary, else compiled: a cached one that the driver refuses (another driver made it, or NVRTC was
 * updated) is compiled anew. The lock is held. */
static hybrid_result hyb_jit_build(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                   hyb_jit_work *work, hybrid_error *error)
{
    hybrid_result r;
    if (work->cached && hyb_jit_load(jit, info, slot, work->cached, NULL) == HYBRID_OK) {
        work->from_cache = true;
        jit->n_from_cache++;
        return HYBRID_OK;
    }
    if ((r = hyb_nvrtc_compile(jit->rt, &jit->nvrtc, info, work->text, &work->made, &work->made_size, &work->words,
                               error)) != HYBRID_OK)
        return r;
    jit->n_compiled++;
    return hyb_jit_load(jit, info, slot, work->made, error);
}

static bool hyb_jit_ready(hyb_jit *jit, int module)
{
    return module >= 0 && module < jit->n_slots && hyb_atomic_load(&jit->slots[module].ready);
}

/* Fills a slot. Of threads that want the same one, all look into the cache, and one builds. */
static hybrid_result hyb_jit_make(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                  hybrid_error *error)
{
    const uint64_t start = hyb_now_us();
    hyb_jit_work work;
    hyb_cache_key key;
    hybrid_error why;
    bool mine = false;
    hybrid_result r = hyb_jit_nvrtc(jit, error);
    if (r) return r;
    memset(&work, 0, sizeof work);
    if (!(work.text = hyb_module_text(jit->rt, info, &work.text_size))) return hyb_fail_memory(error, work.text_size);
    hyb_jit_key(jit, info, work.text, work.text_size, &key);
    if (!hyb_cache_get(&jit->cache, &key, &work.cached, &work.cached_size)) work.cached = NULL;
    hyb_spin_take(&jit->lock);
    if (slot->failed) {
        why = slot->why;
        r = why.result;
    } else if (!hyb_atomic_load(&slot->ready)) {
        r = hyb_jit_build(jit, info, slot, &work, &why);
        mine = !r;
        if (!r)
            hyb_atomic_store(&slot->ready, 1);
        else if (r == HYBRID_ERROR_UNSUPPORTED) {
            slot->failed = true;
            slot->why = why;
        } /* a wrong text stays wrong; other failures may pass */
    }
    hyb_spin_give(&jit->lock);
    if (r && error) *error = why;
    hyb_nvrtc_log(jit->rt, work.words);
    if (mine && work.made) hyb_cache_put(&jit->cache, &key, work.made, work.made_size);
    if (mine)
        hyb_log(jit->rt, HYBRID_LOG_DEBUG, "cuda: kernels '%s' %s in %.1f ms", info->name,
                work.from_cache ? "from the cache" : "compiled", (double)(hyb_now_us() - start) / 1000);
    hyb_free(jit->rt, work.text);
    hyb_free(jit->rt, work.cached);
    hyb_free(jit->rt, work.made);
    return r;
}

/* Makes a module ready. The device's context must be current. Safe to call from several threads. */
static hybrid_result hyb_jit_module(hyb_jit *jit, int module, hybrid_error *error)
{
    if (hyb_jit_ready(jit, module)) return HYBRID_OK;
    if (module < 0 || module >= jit->n_slots)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "there is no CUDA module %d", module);
    return hyb_jit_make(jit, jit->info(module), &jit->slots[module], error);
}

/* Asks for more dynamic shared memory than every kernel may have (48 KB), once for each kernel and size. */
static int hyb_jit_shared(hyb_jit *jit, int module, int kernel, unsigned bytes)
{
    hyb_module_slot *slot = &jit->slots[module];
    int code = 0;
    hyb_spin_take(&jit->lock);
    if (slot->shared[kernel] < bytes &&
        (code = jit->driver->api.cuFuncSetAttribute(slot->functions[kernel], HYB_CU_FUNC_MAX_DYNAMIC_SHARED,
                                                    (int)bytes)) == 0)
        slot->shared[kernel] = bytes;
    hyb_spin_give(&jit->lock);
    return code;
}
#endif
