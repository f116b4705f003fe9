/* cuda/library: finds and opens a dynamic library by a list of names, in the places where users have CUDA.
 *
 * Order: the folder in HYBRID_CUDA_PATH; what the process has already loaded (a host with PyTorch or an engine inside
 * shares its copy with us); then name by name, newest first: the loader's own path, and the folders of toolkits and of
 * Python wheels. A library that was opened is never closed: the driver would not survive it, and to open it twice costs
 * nothing. */
#ifndef HYB_CUDA_LIBRARY_C
#define HYB_CUDA_LIBRARY_C
#include "../core/memory.c"
#include "system.h"

enum { HYB_PATH_MAX = 512 };

typedef struct hyb_library {
    void *handle;
    char path[HYB_PATH_MAX]; /* full path where the system tells it, else the name */
    bool is_override;        /* found in HYBRID_CUDA_PATH */
} hyb_library;

/* The text of an environment variable, or NULL when it is absent or empty. */
static const char *hyb_environment(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

#if defined(_WIN32)
    #define HYB_SEPARATOR '\\'
static void *hyb_library_load(const char *path, bool only_if_loaded)
{
    if (only_if_loaded) return (void *)GetModuleHandleA(path);
    return (void *)LoadLibraryExA(path, NULL, strchr(path, '\\') ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
}
static bool hyb_library_symbol(const hyb_library *lib, const char *name, void *function)
{
    FARPROC address = GetProcAddress((HMODULE)lib->handle, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}
static void hyb_library_locate(hyb_library *lib, const char *symbol)
{
    char path[HYB_PATH_MAX];
    DWORD n = GetModuleFileNameA((HMODULE)lib->handle, path, sizeof path);
    HYB_UNUSED(symbol);
    if (n && n < sizeof path) memcpy(lib->path, path, n + 1);
}
#else
    #define HYB_SEPARATOR '/'
static void *hyb_library_load(const char *path, bool only_if_loaded)
{
    #if defined(RTLD_NOLOAD)
    return dlopen(path, RTLD_LAZY | RTLD_LOCAL | (only_if_loaded ? RTLD_NOLOAD : 0));
    #else
    return only_if_loaded ? NULL : dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    #endif
}
/* Stores the address of the function called name into *function, a pointer to a function pointer. */
static bool hyb_library_symbol(const hyb_library *lib, const char *name, void *function)
{
    void *address = dlsym(lib->handle, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}
/* Finds where a library came from that was opened by its bare name: by dladdr, which -std=c99 hides but the process
 * has. */
static void hyb_library_locate(hyb_library *lib, const char *symbol)
{
    struct {
        const char *file;
        void *base;
        const char *name;
        void *address;
    } info = { NULL, NULL, NULL, NULL };
    int (*find)(const void *address, void *info) = NULL;
    void *self = dlopen(NULL, RTLD_LAZY), *address = dlsym(lib->handle, symbol),
         *function = self ? dlsym(self, "dladdr") : NULL;
    memcpy(&find, &function, sizeof function);
    if (address && find && find(address, &info) && info.file && strchr(info.file, '/') &&
        strlen(info.file) < sizeof lib->path)
        memcpy(lib->path, info.file, strlen(info.file) + 1);
    if (self) dlclose(self);
}
#endif

/* folder/file into path; false when it does not fit. */
static bool hyb_path_join(char path[HYB_PATH_MAX], const char *folder, const char *file)
{
    size_t n = strlen(folder);
    const char *between = n && (folder[n - 1] == '/' || folder[n - 1] == HYB_SEPARATOR) ? ""
                          : HYB_SEPARATOR == '/'                                        ? "/"
                                                                                        : "\\";
    int length = snprintf(path, HYB_PATH_MAX, "%s%s%s", folder, between, file);
    return length > 0 && length < HYB_PATH_MAX;
}

/* The folder of a path, with its last separator; "" for a bare name. */
static void hyb_path_folder(char folder[HYB_PATH_MAX], const char *path)
{
    size_t i, n = 0;
    for (i = 0; path[i] && i + 1 < HYB_PATH_MAX; i++)
        if (path[i] == '/' || path[i] == HYB_SEPARATOR) n = i + 1;
    memcpy(folder, path, n);
    folder[n] = 0;
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

/* Called with one folder after the other; returns true to stop. */
typedef bool (*hyb_folder_fn)(void *user, const char *folder);

static bool hyb_star_match(const char *name, const char *pattern, size_t n)
{
    const char *star = (const char *)memchr(pattern, '*', n);
    size_t head = (size_t)(star - pattern), tail = n - head - 1, length = strlen(name);
    return name[0] != '.' && length >= head + tail && !memcmp(name, pattern, head) &&
           !memcmp(name + length - tail, star + 1, tail);
}

/* cuda-9.2 comes after cuda-12.8, python3.9 after python3.11: longer is newer. */
static int hyb_star_compare(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    return la != lb ? (la < lb ? -1 : 1) : strcmp(a, b);
}

/* The greatest name in folder that fits the pattern of n characters and is below `below` ("" = no limit). */
static bool hyb_folder_next(const char *folder, const char *pattern, size_t n, const char *below, char best[128])
{
    bool found = false;
#if defined(_WIN32)
    char all[HYB_PATH_MAX];
    WIN32_FIND_DATAA entry;
    HANDLE list = hyb_path_join(all, folder, "*") ? FindFirstFileA(all, &entry) : INVALID_HANDLE_VALUE;
    bool more = list != INVALID_HANDLE_VALUE;
    for (; more; more = FindNextFileA(list, &entry) != 0) {
        const char *name = entry.cFileName;
#else
    DIR *list = opendir(folder);
    struct dirent *entry;
    while (list && (entry = readdir(list)) != NULL) {
        const char *name = entry->d_name;
#endif
        if (strlen(name) >= 128 || !hyb_star_match(name, pattern, n)) continue;
        if (*below && hyb_star_compare(name, below) >= 0) continue;
        if (found && hyb_star_compare(name, best) <= 0) continue;
        memcpy(best, name, strlen(name) + 1);
        found = true;
    }
#if defined(_WIN32)
    if (list != INVALID_HANDLE_VALUE) FindClose(list);
#else
    if (list) closedir(list);
#endif
    return found;
}

/* Calls fn with every folder that a pattern stands for: each part of the path may hold one star. '/' separates, on
 * Windows too. */
static bool hyb_folder_expand(const char *pattern, hyb_folder_fn fn, void *user)
{
    const char *star = strchr(pattern, '*'), *part = star, *end = star;
    char folder[HYB_PATH_MAX], path[HYB_PATH_MAX], below[128] = "", name[128];
    if (!star) return fn(user, pattern);
    while (part > pattern && part[-1] != '/') part--;
    end += strcspn(end, "/");
    if ((size_t)(part - pattern) >= sizeof folder) return false;
    memcpy(folder, pattern, (size_t)(part - pattern));
    folder[part - pattern] = 0;
    while (hyb_folder_next(folder, part, (size_t)(end - part), below, name)) {
        int length = snprintf(path, sizeof path, "%s%s%s", folder, name, end);
        if (length > 0 && length < (int)sizeof path && hyb_folder_expand(path, fn, user)) return true;
        memcpy(below, name, sizeof below);
    }
    return false;
}

typedef struct hyb_cuda_place {
    const char *variable, *pattern;
} hyb_cuda_place;

/* All folders in which toolkits, distributions, Conda and Python wheels put the libraries of CUDA. Patterns that begin
 * with a variable are skipped where it is not set. */
static bool hyb_cuda_folders(hyb_folder_fn fn, void *user)
{
    static const hyb_cuda_place places[] = {
#if defined(_WIN32)
        { "CUDA_PATH", "/bin/x64" },
        { "CUDA_PATH", "/bin" },
        { "CUDA_HOME", "/bin/x64" },
        { "CUDA_HOME", "/bin" },
        { "ProgramFiles", "/NVIDIA GPU Computing Toolkit/CUDA/v*/bin/x64" },
        { "ProgramFiles", "/NVIDIA GPU Computing Toolkit/CUDA/v*/bin" },
        { "VIRTUAL_ENV", "/Lib/site-packages/nvidia/*/bin" },
        { "VIRTUAL_ENV", "/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "CONDA_PREFIX", "/Library/bin" },
        { "CONDA_PREFIX", "/Lib/site-packages/nvidia/*/bin" },
        { "CONDA_PREFIX", "/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "LOCALAPPDATA", "/Programs/Python/Python3*/Lib/site-packages/nvidia/*/bin" },
        { "LOCALAPPDATA", "/Programs/Python/Python3*/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "APPDATA", "/Python/Python3*/site-packages/nvidia/*/bin" }
#else
        { "CUDA_PATH", "/lib64" },
        { "CUDA_PATH", "/targets/*/lib" },
        { "CUDA_PATH", "/lib" },
        { "CUDA_HOME", "/lib64" },
        { "CUDA_HOME", "/targets/*/lib" },
        { "CUDA_HOME", "/lib" },
        { NULL, "/usr/local/cuda/lib64" },
        { NULL, "/usr/local/cuda-*/lib64" },
        { NULL, "/usr/local/cuda-*/targets/*/lib" },
        { NULL, "/opt/cuda/lib64" },
        { NULL, "/opt/cuda-*/lib64" },
        { NULL, "/usr/lib/cuda/lib64" },
        { NULL, "/usr/lib/*-linux-gnu" },
        { NULL, "/usr/lib64" },
        { NULL, "/usr/lib/wsl/lib" },
        { NULL, "/run/opengl-driver/lib" },
        { "VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/*/lib" },
        { "CONDA_PREFIX", "/lib" },
        { "CONDA_PREFIX", "/targets/*/lib" },
        { "CONDA_PREFIX", "/lib/python3*/site-packages/nvidia/*/lib" },
        { "HOME", "/.local/lib/python3*/site-packages/nvidia/*/lib" },
        { NULL, "/usr/local/lib/python3*/*-packages/nvidia/*/lib" },
        { NULL, "/usr/lib/python3*/*-packages/nvidia/*/lib" }
#endif
    };
    char pattern[HYB_PATH_MAX];
    size_t i;
    for (i = 0; i < HYB_COUNT(places); i++) {
        const char *root = places[i].variable ? hyb_environment(places[i].variable) : "";
        int n = root ? snprintf(pattern, sizeof pattern, "%s%s", root, places[i].pattern) : 0;
        if (n > 0 && n < (int)sizeof pattern && hyb_folder_expand(pattern, fn, user)) return true;
    }
    return false;
}

/* ---- the search -------------------------------------------------------------------------------------------------- */

/* Looks at an opened library; returns true to take it, false to look for the next one. */
typedef bool (*hyb_library_fn)(void *user, hyb_library *lib);

typedef struct hyb_library_search {
    const char *name;
    const char *first; /* a library that must come from the same folder and be opened before, or NULL */
    hyb_library_fn accept;
    void *user;
    bool is_override;
} hyb_library_search;

static bool hyb_library_try(const hyb_library_search *search, const char *path, bool only_if_loaded)
{
    hyb_library lib;
    memset(&lib, 0, sizeof lib);
    if (strlen(path) >= sizeof lib.path || !(lib.handle = hyb_library_load(path, only_if_loaded))) return false;
    memcpy(lib.path, path, strlen(path) + 1);
    lib.is_override = search->is_override;
    return search->accept(search->user, &lib);
}

static bool hyb_library_in_folder(void *user, const char *folder)
{
    const hyb_library_search *search = (const hyb_library_search *)user;
    char path[HYB_PATH_MAX];
    if (strstr(folder, "/stubs")) return false; /* the toolkit's stub, to link with and not to run */
    if (search->first && hyb_path_join(path, folder, search->first)) hyb_library_load(path, false);
    return hyb_path_join(path, folder, search->name) && hyb_library_try(search, path, false);
}

/* Offers the libraries that have one of the names (the best first, NULL after the last) to accept, until it takes one.
 * firsts: NULL, or for each name what must be opened before it. only_override: HYBRID_CUDA_PATH and nothing else. */
static bool hyb_library_find(const char *const *names, const char *const *firsts, bool only_override,
                             hyb_library_fn accept, void *user)
{
    const char *override_folder = hyb_environment("HYBRID_CUDA_PATH");
    hyb_library_search search;
    int i;
    memset(&search, 0, sizeof search);
    search.accept = accept;
    search.user = user;
    search.is_override = true;
    for (i = 0; override_folder && names[i]; i++) {
        search.name = names[i];
        search.first = firsts ? firsts[i] : NULL;
        if (hyb_library_in_folder(&search, override_folder)) return true;
    }
    search.is_override = false;
    if (only_override) return false;
    for (i = 0; names[i]; i++)
        if (hyb_library_try(&search, names[i], true)) return true;
    for (i = 0; names[i]; i++) {
        search.name = names[i];
        search.first = firsts ? firsts[i] : NULL;
        if (hyb_library_try(&search, names[i], false) || hyb_cuda_folders(hyb_library_in_folder, &search)) return true;
    }
    return false;
}
#endif
