/* cuda/jit: from the text of kernels to functions on the device: which NVRTC, for which architecture, compiled or from the cache.
 * Nothing is loaded or compiled before a kernel of it is first asked for. One compilation at a time: old versions need that, and
 * newer ones gain nothing from two. The host's own functions (log, load, store) are called without the lock. */

/* ---- architecture: a pure choice ---- */

typedef struct hybrid__target { int number; bool ptx; } hybrid__target;      /* 90: sm_90 as a binary, or compute_90 as PTX; 0: none */

/* Chips of the Jetson family: their binaries run on no other chip, and they run no other's. */
static bool hybrid__is_tegra(int number) { return number == 53 || number == 62 || number == 72 || number == 87 || number == 101 || number == 110; }

/* The best target for a device of capability cc (major * 10 + minor) among those that an NVRTC offers (in any order): the very same;
 * a binary for an earlier minor version, which later ones run; PTX of an earlier version, which the driver translates; or none. */
static hybrid__target hybrid__target_choose(int cc, const int *archs, int n)
{
    hybrid__target binary = { 0, false }, ptx = { 0, true };
    int i;
    for (i = 0; i < n; i++) {
        if (archs[i] > cc || archs[i] <= 0) continue;
        if (archs[i] == cc) { binary.number = cc; return binary; }
        if (archs[i] / 10 == cc / 10 && !hybrid__is_tegra(archs[i]) && !hybrid__is_tegra(cc)) binary.number = HYBRID__MAX(binary.number, archs[i]);
        ptx.number = HYBRID__MAX(ptx.number, archs[i]);
    }
    return binary.number ? binary : ptx;
}

/* ---- NVRTC ---- */

typedef struct hybrid__nvrtc {
    hybrid__nvrtc_api api;
    hybrid__library   library;
    int               major, minor;
    hybrid__target    arch;             /* what this one makes for the device it was opened for */
    int               cc;
    char              refused[96];      /* what was found and could not be used, in words */
} hybrid__nvrtc;

/* NVRTC opens its library of built-ins by bare name when it compiles: outside the loader's path that fails, unless it is there already. */
static void hybrid__nvrtc_builtins(const hybrid__nvrtc *nvrtc)
{
    char folder[HYBRID__PATH_MAX], path[HYBRID__PATH_MAX], name[64];
    hybrid__path_folder(folder, nvrtc->library.path);
#if defined(_WIN32)
    snprintf(name, sizeof name, "nvrtc-builtins64_%d%d.dll", nvrtc->major, nvrtc->minor);
#else
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", nvrtc->major, nvrtc->minor);
#endif
    if (folder[0] && hybrid__path_join(path, folder, name)) hybrid__library_load(path, false);
}

static bool hybrid__nvrtc_accept(void *user, hybrid__library *lib)
{
    hybrid__nvrtc *nvrtc = (hybrid__nvrtc *)user;
    const char *missing = NULL;
    int archs[128], n = 0;
#define HYBRID__X(required, name, symbol, parameters) if (!hybrid__library_symbol(lib, symbol, &nvrtc->api.name) && required) missing = symbol;
    HYBRID__NVRTC_LIST(HYBRID__X)
#undef HYBRID__X
    hybrid__library_locate(lib, "nvrtcVersion");
    nvrtc->library = *lib;
    if (missing || nvrtc->api.nvrtcVersion(&nvrtc->major, &nvrtc->minor) || nvrtc->api.nvrtcGetNumSupportedArchs(&n) || n < 1 || n > 128 || nvrtc->api.nvrtcGetSupportedArchs(archs)) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "%.70s is too old", lib->path);
        return false;
    }
    nvrtc->arch = hybrid__target_choose(nvrtc->cc, archs, n);
    if (!nvrtc->arch.number) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "NVRTC %d.%d no longer knows a GPU of capability %d.%d", nvrtc->major, nvrtc->minor, nvrtc->cc / 10, nvrtc->cc % 10);
        return false;
    }
    hybrid__nvrtc_builtins(nvrtc);
    return true;
}

/* The names of NVRTC, that of a CUDA version first: binaries of a newer one may not load in an older driver. */
static void hybrid__nvrtc_names(int driver_version, const char *names[5])
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

/* Opens the NVRTC that can compile for a device of capability cc: the newest that the driver fits, older ones for older devices. */
static hybrid_result hybrid__nvrtc_open(hybrid__nvrtc *nvrtc, int cc, int driver_version, bool only_override, hybrid_error *error)
{
    const char *names[5];
    memset(nvrtc, 0, sizeof *nvrtc);
    nvrtc->cc = cc;
    hybrid__nvrtc_names(driver_version, names);
    if (hybrid__library_find(names, NULL, only_override, hybrid__nvrtc_accept, nvrtc)) return HYBRID_OK;
    if (nvrtc->refused[0])
        return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "no CUDA compiler for this GPU: %s; an older one will do: pip install nvidia-cuda-nvrtc-cu12, "
                            "or set HYBRID_CUDA_PATH to the folder of its library", nvrtc->refused);
    return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "driver found, but no NVRTC (%s in HYBRID_CUDA_PATH, the loader's path, CUDA_PATH, toolkit, Conda, Python folders); "
                        "pip install nvidia-cuda-nvrtc, or set HYBRID_CUDA_PATH to its folder", names[0]);
}

/* ---- the locale: NVRTC before 12.6.2 leaves another one behind ---- */

typedef struct hybrid__locale {
#if defined(_WIN32)
    int  threads;
    char name[256];
#else
    void *(*use)(void *locale);         /* uselocale, which -std=c99 hides */
    void *of_thread;
#endif
} hybrid__locale;

static void hybrid__locale_keep(hybrid__locale *kept)
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

static void hybrid__locale_restore(const hybrid__locale *kept)
{
#if defined(_WIN32)
    if (kept->name[0]) setlocale(LC_ALL, kept->name);
    if (kept->threads > 0) _configthreadlocale(kept->threads);
#else
    if (kept->use && kept->of_thread && kept->use(NULL) != kept->of_thread) kept->use(kept->of_thread);
#endif
}

/* ---- compiling ---- */

/* The parts of a module in one text, freed by the caller; NULL when the host has no memory. */
static char *hybrid__module_text(hybrid_runtime *rt, const hybrid__cuda_module_info *info, size_t *size)
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
        if (pass) text[n] = 0;
        else if (!(text = at = (char *)hybrid__alloc(rt, n + 1))) return NULL;
    }
    return text;
}

/* The compiler's words, freed by the caller, or NULL; the first of its lines that names an error goes into `line`. */
static char *hybrid__nvrtc_words(hybrid_runtime *rt, const hybrid__nvrtc *nvrtc, void *program, char *line, size_t capacity)
{
    size_t size = 0;
    char *log = NULL, *p, *end;
    bool found = false;
    snprintf(line, capacity, "the compiler gives no reason");
    if (nvrtc->api.nvrtcGetProgramLogSize(program, &size) || size < 2 || !(log = (char *)hybrid__calloc(rt, size + 1, 1))) return NULL;
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
static void hybrid__nvrtc_log(hybrid_runtime *rt, char *words)
{
    char *p, *end;
    for (p = words; p && *p; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        hybrid__log(rt, HYBRID_LOG_ERROR, "nvrtc: %.*s", (int)HYBRID__MIN(end - p, 480), p);
    }
    hybrid__free(rt, words);
}

enum { HYBRID__NVRTC_NO_MEMORY = 1 };

/* Compiles text for nvrtc->arch. *data: the binary or PTX with a zero behind it; *words: what the compiler says of an error, for hybrid__nvrtc_log,
 * or NULL. Both are freed by the caller. */
static hybrid_result hybrid__nvrtc_compile(hybrid_runtime *rt, const hybrid__nvrtc *nvrtc, const hybrid__cuda_module_info *info, const char *text,
                                           void **data, size_t *size, char **words, hybrid_error *error)
{
    const char *options[8];
    char arch[40], name[80], line[200];
    void *program = NULL;
    hybrid__locale locale;
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
    hybrid__locale_keep(&locale);
    if ((code = nvrtc->api.nvrtcCreateProgram(&program, text, name, 0, NULL, NULL)) == 0) code = nvrtc->api.nvrtcCompileProgram(program, n, options);
    hybrid__locale_restore(&locale);
    if (code) {
        if (program) *words = hybrid__nvrtc_words(rt, nvrtc, program, line, sizeof line);
        else snprintf(line, sizeof line, "no memory for the compiler");
        r = hybrid__fail(error, code == HYBRID__NVRTC_NO_MEMORY ? HYBRID_ERROR_MEMORY : HYBRID_ERROR_UNSUPPORTED, "NVRTC %d.%d cannot compile the kernels '%.40s' for %s (error %d): %.140s", nvrtc->major, nvrtc->minor, info->name,
                         arch + 19, code, line);
    } else if ((nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTXSize(program, size) : nvrtc->api.nvrtcGetCUBINSize(program, size)) || !*size) {
        r = hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "NVRTC %d.%d made nothing of the kernels '%.40s' for %s", nvrtc->major, nvrtc->minor, info->name, arch + 19);
    } else if (!(*data = hybrid__calloc(rt, *size + 1, 1))) {
        r = hybrid__fail_memory(error, *size + 1);
    } else {
        code = nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTX(program, (char *)*data) : nvrtc->api.nvrtcGetCUBIN(program, (char *)*data);
        if (code) r = hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "NVRTC %d.%d does not give the kernels '%.40s' (error %d)", nvrtc->major, nvrtc->minor, info->name, code);
    }
    if (program) nvrtc->api.nvrtcDestroyProgram(&program);
    if (r) { hybrid__free(rt, *data); *data = NULL; }
    return r;
}

/* ---- modules on a device ---- */

enum { HYBRID__MODULE_KERNELS = 12 };

typedef struct hybrid__module_slot {
    volatile uint64_t ready;            /* 1: loaded, and all below stands */
    void             *module;
    void             *functions[HYBRID__MODULE_KERNELS];
    unsigned          shared[HYBRID__MODULE_KERNELS];    /* bytes of dynamic shared memory that were asked for */
    bool              failed;           /* for good: the same text will not compile the next time */
    hybrid_error      why;
} hybrid__module_slot;

typedef struct hybrid__jit {
    hybrid_runtime       *rt;
    const hybrid__driver *driver;
    const hybrid__cuda_module_info *(*info)(int module);
    hybrid__module_slot  *slots;
    int                   n_slots, cc;
    hybrid__spin          lock;         /* of what follows and the slots; held while anything is compiled or loaded */
    hybrid__nvrtc         nvrtc;
    int                   nvrtc_state;  /* 0 not looked for, 1 there, 2 absent */
    hybrid_error          nvrtc_why;
    hybrid__cache         cache;
    unsigned              n_compiled, n_from_cache;
} hybrid__jit;

static hybrid_result hybrid__jit_create(hybrid__jit *jit, hybrid_runtime *rt, const hybrid__driver *driver, int cc,
                                        const hybrid__cuda_module_info *(*info)(int module), int n_modules, const hybrid_kernel_cache *cache, hybrid_error *error)
{
    memset(jit, 0, sizeof *jit);
    jit->rt = rt;
    jit->driver = driver;
    jit->info = info;
    jit->n_slots = n_modules;
    jit->cc = cc;
    if (!(jit->slots = (hybrid__module_slot *)hybrid__calloc(rt, (size_t)n_modules, sizeof *jit->slots))) return hybrid__fail_memory(error, (size_t)n_modules * sizeof *jit->slots);
    hybrid__cache_create(&jit->cache, rt, cache);
    return HYBRID_OK;
}

/* The device's context must be current. */
static void hybrid__jit_destroy(hybrid__jit *jit)
{
    int i;
    for (i = 0; i < jit->n_slots; i++)
        if (jit->slots[i].module) jit->driver->api.cuModuleUnload(jit->slots[i].module);
    hybrid__free(jit->rt, jit->slots);
}

/* Opens NVRTC on the first call; jit->nvrtc stands when this says OK. */
static hybrid_result hybrid__jit_nvrtc(hybrid__jit *jit, hybrid_error *error)
{
    const uint64_t start = hybrid__now_us();
    bool first;
    hybrid__spin_take(&jit->lock);
    first = jit->nvrtc_state == 0;
    if (first) jit->nvrtc_state = hybrid__nvrtc_open(&jit->nvrtc, jit->cc, jit->driver->version, jit->driver->library.is_override, &jit->nvrtc_why) ? 2 : 1;
    hybrid__spin_give(&jit->lock);
    if (jit->nvrtc_state == 2 && error) *error = jit->nvrtc_why;
    if (jit->nvrtc_state == 2) return jit->nvrtc_why.result;
    if (first) hybrid__log(jit->rt, HYBRID_LOG_INFO, "cuda: NVRTC %d.%d (%s) makes %s_%d, opened in %.0f ms", jit->nvrtc.major, jit->nvrtc.minor, jit->nvrtc.library.path,
                           jit->nvrtc.arch.ptx ? "compute" : "sm", jit->nvrtc.arch.number, (double)(hybrid__now_us() - start) / 1000);
    return HYBRID_OK;
}

static void hybrid__jit_key(const hybrid__jit *jit, const hybrid__cuda_module_info *info, const char *text, size_t size, hybrid__cache_key *key)
{
    char target[96];
    int i, n = snprintf(target, sizeof target, "%.40s nvrtc %d.%d %s_%d", info->name, jit->nvrtc.major, jit->nvrtc.minor, jit->nvrtc.arch.ptx ? "compute" : "sm", jit->nvrtc.arch.number);
    memset(key, 0, sizeof *key);
    hybrid__cache_key_add(key, target, (size_t)n);
    for (i = 0; i < 4 && info->options[i]; i++) hybrid__cache_key_add(key, info->options[i], strlen(info->options[i]));
    hybrid__cache_key_add(key, text, size);
}

/* The driver's part: from a binary to functions. */
static hybrid_result hybrid__jit_load(hybrid__jit *jit, const hybrid__cuda_module_info *info, hybrid__module_slot *slot, const void *binary, hybrid_error *error)
{
    char what[96];
    int i, code = jit->driver->api.cuModuleLoadData(&slot->module, binary);
    snprintf(what, sizeof what, "loading the kernels '%.40s'", info->name);
    if (code) slot->module = NULL;
    for (i = 0; !code && i < HYBRID__MODULE_KERNELS && info->kernels[i]; i++) {
        code = jit->driver->api.cuModuleGetFunction(&slot->functions[i], slot->module, info->kernels[i]);
        if (code) snprintf(what, sizeof what, "finding the kernel '%.32s' in '%.32s'", info->kernels[i], info->name);
    }
    if (!code) return HYBRID_OK;
    if (slot->module) jit->driver->api.cuModuleUnload(slot->module);
    slot->module = NULL;
    return hybrid__driver_fail(jit->driver, error, code, what);
}

/* What one thread has in its hands while it makes a module. */
typedef struct hybrid__jit_work {
    char  *text, *words;                /* of the module, and of the compiler */
    void  *cached, *made;               /* binaries */
    size_t text_size, cached_size, made_size;
    bool   from_cache;
} hybrid__jit_work;

/* From the cached binary, else compiled: a cached one that the driver refuses (another driver made it, or NVRTC was updated) is compiled anew. The lock is held. */
static hybrid_result hybrid__jit_build(hybrid__jit *jit, const hybrid__cuda_module_info *info, hybrid__module_slot *slot, hybrid__jit_work *work, hybrid_error *error)
{
    hybrid_result r;
    if (work->cached && hybrid__jit_load(jit, info, slot, work->cached, NULL) == HYBRID_OK) {
        work->from_cache = true;
        jit->n_from_cache++;
        return HYBRID_OK;
    }
    if ((r = hybrid__nvrtc_compile(jit->rt, &jit->nvrtc, info, work->text, &work->made, &work->made_size, &work->words, error)) != HYBRID_OK) return r;
    jit->n_compiled++;
    return hybrid__jit_load(jit, info, slot, work->made, error);
}

static bool hybrid__jit_ready(hybrid__jit *jit, int module)
{
    return module >= 0 && module < jit->n_slots && hybrid__atomic_load(&jit->slots[module].ready);
}

/* Fills a slot. Of threads that want the same one, all look into the cache, and one builds. */
static hybrid_result hybrid__jit_make(hybrid__jit *jit, const hybrid__cuda_module_info *info, hybrid__module_slot *slot, hybrid_error *error)
{
    const uint64_t start = hybrid__now_us();
    hybrid__jit_work work;
    hybrid__cache_key key;
    hybrid_error why;
    bool mine = false;
    hybrid_result r = hybrid__jit_nvrtc(jit, error);
    if (r) return r;
    memset(&work, 0, sizeof work);
    if (!(work.text = hybrid__module_text(jit->rt, info, &work.text_size))) return hybrid__fail_memory(error, work.text_size);
    hybrid__jit_key(jit, info, work.text, work.text_size, &key);
    if (!hybrid__cache_get(&jit->cache, &key, &work.cached, &work.cached_size)) work.cached = NULL;
    hybrid__spin_take(&jit->lock);
    if (slot->failed) { why = slot->why; r = why.result; }
    else if (!hybrid__atomic_load(&slot->ready)) {
        r = hybrid__jit_build(jit, info, slot, &work, &why);
        mine = !r;
        if (!r) hybrid__atomic_store(&slot->ready, 1);
        else if (r == HYBRID_ERROR_UNSUPPORTED) { slot->failed = true; slot->why = why; }      /* a wrong text stays wrong; anything else may pass */
    }
    hybrid__spin_give(&jit->lock);
    if (r && error) *error = why;
    hybrid__nvrtc_log(jit->rt, work.words);
    if (mine && work.made) hybrid__cache_put(&jit->cache, &key, work.made, work.made_size);
    if (mine) hybrid__log(jit->rt, HYBRID_LOG_DEBUG, "cuda: kernels '%s' %s in %.1f ms", info->name, work.from_cache ? "from the cache" : "compiled", (double)(hybrid__now_us() - start) / 1000);
    hybrid__free(jit->rt, work.text);
    hybrid__free(jit->rt, work.cached);
    hybrid__free(jit->rt, work.made);
    return r;
}

/* Makes a module ready. The device's context must be current. Safe to call from several threads. */
static hybrid_result hybrid__jit_module(hybrid__jit *jit, int module, hybrid_error *error)
{
    if (hybrid__jit_ready(jit, module)) return HYBRID_OK;
    if (module < 0 || module >= jit->n_slots) return hybrid__fail(error, HYBRID_ERROR_INVALID, "there is no CUDA module %d", module);
    return hybrid__jit_make(jit, jit->info(module), &jit->slots[module], error);
}

/* Asks for more dynamic shared memory than every kernel may have (48 KB), once for each kernel and size. */
static int hybrid__jit_shared(hybrid__jit *jit, int module, int kernel, unsigned bytes)
{
    hybrid__module_slot *slot = &jit->slots[module];
    int code = 0;
    hybrid__spin_take(&jit->lock);
    if (slot->shared[kernel] < bytes && (code = jit->driver->api.cuFuncSetAttribute(slot->functions[kernel], HYBRID__CU_FUNC_MAX_DYNAMIC_SHARED, (int)bytes)) == 0)
        slot->shared[kernel] = bytes;
    hybrid__spin_give(&jit->lock);
    return code;
}
