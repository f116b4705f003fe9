/* cuda/cache: compiled kernels on disk, or in the host's own store. A cache is never a reason to fail: an entry that is
 * damaged counts as absent, a folder that cannot be written counts as absent.
 *
 * An entry is a header of 48 bytes and the binary (or PTX): "HYBRIDCU", version (u64), key (2 x u64), size (u64), hash
 * of the binary (u64). Written under a temporary name and renamed: readers see a whole entry or none, and of several
 * writers the last one stays. */
#ifndef HYB_CUDA_CACHE_C
#define HYB_CUDA_CACHE_C
#include "../core/file.c"
#include "library.c"

enum { HYB_CACHE_VERSION = 1, HYB_CACHE_HEADER = 48, HYB_CACHE_KEY_TEXT = 40 };

typedef struct hyb_cache {
    hybrid_runtime *rt;
    hybrid_kernel_cache host;  /* its load and store; path is not kept */
    char folder[HYB_PATH_MAX]; /* "": nothing on disk */
} hyb_cache;

typedef struct hyb_cache_key {
    uint64_t a, b;
} hyb_cache_key;

/* ---- hashing: two independent lanes of 64 bits; they name a text, and defend against no one ------------------ */

static uint64_t hyb_hash_step(uint64_t h, uint64_t word, uint64_t factor)
{
    h = (h ^ word) * factor;
    return h ^ h >> 29;
}

static uint64_t hyb_hash_bytes(uint64_t h, const void *data, size_t n, uint64_t factor)
{
    const unsigned char *p = (const unsigned char *)data;
    unsigned char last[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) h = hyb_hash_step(h, hyb_load_u64(p + i), factor);
    memcpy(last, p + i, n - i);
    return hyb_hash_step(hyb_hash_step(h, hyb_load_u64(last), factor), (uint64_t)n, factor);
}

#define HYB_HASH_A 0x9E3779B97F4A7C15u
#define HYB_HASH_B 0xD6E8FEB86659FD93u

static void hyb_cache_key_add(hyb_cache_key *key, const void *data, size_t n)
{
    key->a = hyb_hash_bytes(key->a, data, n, HYB_HASH_A);
    key->b = hyb_hash_bytes(key->b + 1, data, n, HYB_HASH_B);
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

/* An environment variable as UTF-8; false when it is absent, "" when it is too long. */
static bool hyb_environment_path(const char *name, char path[HYB_PATH_MAX])
{
#if defined(_WIN32)
    wchar_t wide_name[64], wide[HYB_PATH_MAX];
    DWORD n;
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide_name, 64) <= 0) return false;
    SetLastError(0);
    n = GetEnvironmentVariableW(wide_name, wide, HYB_PATH_MAX);
    path[0] = 0;
    if (n >= HYB_PATH_MAX) return true;
    if (!n && GetLastError()) return false;
    return WideCharToMultiByte(CP_UTF8, 0, wide, n ? -1 : 1, path, HYB_PATH_MAX, NULL, NULL) > 0;
#else
    const char *text = getenv(name);
    if (!text) return false;
    snprintf(path, HYB_PATH_MAX, "%s", strlen(text) < HYB_PATH_MAX ? text : "");
    return true;
#endif
}

/* Makes root and tail the cache's folder; "" when that, with the name of an entry, would be too long: a wrong folder is
 * worse than none. */
static void hyb_cache_at(hyb_cache *cache, const char *root, const char *tail)
{
    const size_t room = sizeof cache->folder - HYB_CACHE_KEY_TEXT - 48, n = strlen(root), n_tail = strlen(tail);
    if (n + n_tail >= room) return;
    memcpy(cache->folder, root, n);
    memcpy(cache->folder + n, tail, n_tail + 1);
}

/* The same; "" when root is relative, too. */
static void hyb_cache_below(hyb_cache *cache, const char *root, const char *tail)
{
    if (root[0] == '/' || (root[0] && root[1] == ':') || root[0] == '\\') hyb_cache_at(cache, root, tail);
}

/* From what the runtime's descriptor says. */
static void hyb_cache_create(hyb_cache *cache, hybrid_runtime *rt, const hybrid_kernel_cache *desc)
{
    char root[HYB_PATH_MAX];
    memset(cache, 0, sizeof *cache);
    cache->rt = rt;
    cache->host = *desc;
    cache->host.path = NULL;
    if (desc->load || desc->store) return;
    if (desc->path)
        hyb_cache_at(cache, desc->path, "");
    else if (hyb_environment_path("HYBRID_CUDA_CACHE", root))
        hyb_cache_at(cache, root, "");
#if defined(_WIN32)
    else if (hyb_environment_path("LOCALAPPDATA", root))
        hyb_cache_below(cache, root, "\\hybrid");
#else
    else if (hyb_environment_path("XDG_CACHE_HOME", root) && root[0])
        hyb_cache_below(cache, root, "/hybrid");
    else if (hyb_environment_path("HOME", root))
        hyb_cache_below(cache, root, "/.cache/hybrid");
#endif
}

static void hyb_cache_name(const hyb_cache_key *key, char name[HYB_CACHE_KEY_TEXT])
{
    snprintf(name, HYB_CACHE_KEY_TEXT, "%08lx%08lx%08lx%08lx.bin", (unsigned long)(key->a >> 32),
             (unsigned long)(key->a & 0xFFFFFFFFu), (unsigned long)(key->b >> 32),
             (unsigned long)(key->b & 0xFFFFFFFFu));
}

/* ---- disk -------------------------------------------------------------------------------------------------------- */

#ifdef HYBRID_NO_STDIO
static bool hyb_cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    HYB_UNUSED(folder);
    HYB_UNUSED(name);
    HYB_UNUSED(data);
    HYB_UNUSED(size);
    return false;
}
#else
    #if defined(_WIN32)
static bool hyb_cache_wide(const char *path, wchar_t wide[HYB_PATH_MAX])
{
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, HYB_PATH_MAX) > 0;
}
static void hyb_cache_mkdir(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    if (hyb_cache_wide(path, w)) CreateDirectoryW(w, NULL);
}
static FILE *hyb_cache_open(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    return hyb_cache_wide(path, w) ? _wfopen(w, L"wb") : NULL;
}
static void hyb_cache_remove(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    if (hyb_cache_wide(path, w)) DeleteFileW(w);
}
static bool hyb_cache_rename(const char *from, const char *to)
{
    wchar_t a[HYB_PATH_MAX], b[HYB_PATH_MAX];
    return hyb_cache_wide(from, a) && hyb_cache_wide(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}
static unsigned long hyb_process_id(void) { return GetCurrentProcessId(); }
    #else
static void hyb_cache_mkdir(const char *path) { mkdir(path, 0700); }
static FILE *hyb_cache_open(const char *path) { return fopen(path, "wb"); }
static void hyb_cache_remove(const char *path) { remove(path); }
static bool hyb_cache_rename(const char *from, const char *to) { return rename(from, to) == 0; }
static unsigned long hyb_process_id(void) { return (unsigned long)getpid(); }
    #endif

/* Makes a folder and those above it. */
static void hyb_cache_folders(const char *folder)
{
    char path[HYB_PATH_MAX];
    size_t i, n = strlen(folder);
    memcpy(path, folder, n + 1);
    for (i = 1; i <= n; i++) {
        char c = path[i];
        if (c && c != '/' && c != HYB_SEPARATOR) continue;
        path[i] = 0;
        hyb_cache_mkdir(path);
        path[i] = c;
    }
}

static bool hyb_cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    char path[HYB_PATH_MAX], temporary_name[HYB_CACHE_KEY_TEXT + 64], temporary[HYB_PATH_MAX];
    FILE *f;
    bool ok;
    /* A name unlike that of any other writer: another process, another thread (by the address of a local), another
     * time. */
    snprintf(temporary_name, sizeof temporary_name, "%.32s.%lx.%lx.%lx", name, hyb_process_id(),
             (unsigned long)(uintptr_t)&ok, (unsigned long)hyb_now_us());
    if (!hyb_path_join(path, folder, name) || !hyb_path_join(temporary, folder, temporary_name)) return false;
    if (!(f = hyb_cache_open(temporary))) {
        hyb_cache_folders(folder);
        if (!(f = hyb_cache_open(temporary))) return false;
    }
    ok = fwrite(data, 1, size, f) == size;
    ok = fclose(f) == 0 && ok;
    ok = ok && hyb_cache_rename(temporary, path);
    if (!ok) hyb_cache_remove(temporary);
    return ok;
}
#endif

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static void hyb_cache_header(unsigned char header[HYB_CACHE_HEADER], const hyb_cache_key *key, const void *data,
                             uint64_t size)
{
    const uint64_t version = HYB_CACHE_VERSION, hash = hyb_hash_bytes(version, data, (size_t)size, HYB_HASH_A);
    memcpy(header, "HYBRIDCU", 8);
    memcpy(header + 8, &version, 8);
    memcpy(header + 16, &key->a, 8);
    memcpy(header + 24, &key->b, 8);
    memcpy(header + 32, &size, 8);
    memcpy(header + 40, &hash, 8);
}

/* The whole entry, read from the host's store or the disk; NULL when there is none. */
static unsigned char *hyb_cache_read(hyb_cache *cache, const char *name, size_t *size)
{
    unsigned char *entry = NULL;
    if (cache->host.load) {
        *size = cache->host.load(cache->host.user, name, NULL, 0);
        if (*size < HYB_CACHE_HEADER || !(entry = (unsigned char *)hyb_alloc(cache->rt, *size))) return NULL;
        if (cache->host.load(cache->host.user, name, entry, *size) == *size) return entry;
    } else if (cache->folder[0]) {
        char path[HYB_PATH_MAX];
        hybrid_source source;
        hyb_file f;
        memset(&source, 0, sizeof source);
        source.path = path;
        if (!hyb_path_join(path, cache->folder, name) || hyb_file_open(&source, &f, NULL)) return NULL;
        *size = (size_t)f.size;
        if (f.size < HYB_CACHE_HEADER || f.size > SIZE_MAX || !(entry = (unsigned char *)hyb_alloc(cache->rt, *size)) ||
            !hyb_file_read(&f, 0, entry, *size, NULL)) {
            hyb_file_close(&f);
            return entry;
        }
        hyb_file_close(&f);
    }
    hyb_free(cache->rt, entry);
    return NULL;
}

/* A binary from the cache: true, and a block of *size bytes with a zero after it, freed by the caller. */
static bool hyb_cache_get(hyb_cache *cache, const hyb_cache_key *key, void **data, size_t *size)
{
    unsigned char header[HYB_CACHE_HEADER], *entry;
    char name[HYB_CACHE_KEY_TEXT], *copy = NULL;
    size_t n = 0;
    hyb_cache_name(key, name);
    if (!(entry = hyb_cache_read(cache, name, &n))) return false;
    *size = n - HYB_CACHE_HEADER;
    hyb_cache_header(header, key, entry + HYB_CACHE_HEADER, *size);
    if (!memcmp(header, entry, HYB_CACHE_HEADER) && (copy = (char *)hyb_alloc(cache->rt, *size + 1)) != NULL) {
        memcpy(copy, entry + HYB_CACHE_HEADER, *size);
        copy[*size] = 0;
    }
    hyb_free(cache->rt, entry);
    *data = copy;
    return copy != NULL;
}

/* Keeps a binary, if it can. */
static void hyb_cache_put(hyb_cache *cache, const hyb_cache_key *key, const void *data, size_t size)
{
    unsigned char *entry;
    char name[HYB_CACHE_KEY_TEXT];
    if (!cache->host.store && !cache->folder[0]) return;
    if (!(entry = (unsigned char *)hyb_alloc(cache->rt, HYB_CACHE_HEADER + size))) return;
    hyb_cache_name(key, name);
    hyb_cache_header(entry, key, data, size);
    memcpy(entry + HYB_CACHE_HEADER, data, size);
    if (cache->host.store)
        cache->host.store(cache->host.user, name, entry, HYB_CACHE_HEADER + size);
    else
        hyb_cache_write(cache->folder, name, entry, HYB_CACHE_HEADER + size);
    hyb_free(cache->rt, entry);
}
#endif
