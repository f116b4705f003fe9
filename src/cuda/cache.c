/* cuda/cache: compiled kernels on disk, or in the host's own store. A cache is never a reason to fail: an entry that is damaged is
 * no entry, a folder that cannot be written is no folder.
 *
 * An entry is a header of 48 bytes and the binary (or PTX): "HYBRIDCU", version (u64), key (2 x u64), size (u64), hash of the
 * binary (u64). Written under a temporary name and renamed: readers see a whole entry or none, and of several writers the last
 * one stays. */

enum { HYBRID__CACHE_VERSION = 1, HYBRID__CACHE_HEADER = 48, HYBRID__CACHE_KEY_TEXT = 40 };

typedef struct hybrid__cache {
    hybrid_runtime     *rt;
    hybrid_kernel_cache host;                            /* its load and store; path is not kept */
    char                folder[HYBRID__PATH_MAX];        /* "": nothing on disk */
} hybrid__cache;

typedef struct hybrid__cache_key { uint64_t a, b; } hybrid__cache_key;

/* ---- hashing: two independent lanes of 64 bits; names a text, defends against nobody ---- */

static uint64_t hybrid__hash_step(uint64_t h, uint64_t word, uint64_t factor)
{
    h = (h ^ word) * factor;
    return h ^ h >> 29;
}

static uint64_t hybrid__hash_bytes(uint64_t h, const void *data, size_t n, uint64_t factor)
{
    const unsigned char *p = (const unsigned char *)data;
    unsigned char last[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) h = hybrid__hash_step(h, hybrid__load_u64(p + i), factor);
    memcpy(last, p + i, n - i);
    return hybrid__hash_step(hybrid__hash_step(h, hybrid__load_u64(last), factor), (uint64_t)n, factor);
}

#define HYBRID__HASH_A 0x9E3779B97F4A7C15u
#define HYBRID__HASH_B 0xD6E8FEB86659FD93u

static void hybrid__cache_key_add(hybrid__cache_key *key, const void *data, size_t n)
{
    key->a = hybrid__hash_bytes(key->a, data, n, HYBRID__HASH_A);
    key->b = hybrid__hash_bytes(key->b + 1, data, n, HYBRID__HASH_B);
}

/* ---- places ---- */

/* An environment variable as UTF-8; false when it is absent, "" when it is too long. */
static bool hybrid__environment_path(const char *name, char path[HYBRID__PATH_MAX])
{
#if defined(_WIN32)
    wchar_t wide_name[64], wide[HYBRID__PATH_MAX];
    DWORD n;
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide_name, 64) <= 0) return false;
    SetLastError(0);
    n = GetEnvironmentVariableW(wide_name, wide, HYBRID__PATH_MAX);
    path[0] = 0;
    if (n >= HYBRID__PATH_MAX) return true;
    if (!n && GetLastError()) return false;
    return WideCharToMultiByte(CP_UTF8, 0, wide, n ? -1 : 1, path, HYBRID__PATH_MAX, NULL, NULL) > 0;
#else
    const char *text = getenv(name);
    if (!text) return false;
    snprintf(path, HYBRID__PATH_MAX, "%s", strlen(text) < HYBRID__PATH_MAX ? text : "");
    return true;
#endif
}

/* Puts root and tail into the cache; "" when that, with the name of an entry, would be too long: another folder than the one that was meant is worse than none. */
static void hybrid__cache_at(hybrid__cache *cache, const char *root, const char *tail)
{
    const size_t room = sizeof cache->folder - HYBRID__CACHE_KEY_TEXT - 48, n = strlen(root), n_tail = strlen(tail);
    if (n + n_tail >= room) return;
    memcpy(cache->folder, root, n);
    memcpy(cache->folder + n, tail, n_tail + 1);
}

/* The same; "" when root is relative, too. */
static void hybrid__cache_below(hybrid__cache *cache, const char *root, const char *tail)
{
    if (root[0] == '/' || (root[0] && root[1] == ':') || root[0] == '\\') hybrid__cache_at(cache, root, tail);
}

/* From what the runtime's descriptor says. */
static void hybrid__cache_create(hybrid__cache *cache, hybrid_runtime *rt, const hybrid_kernel_cache *desc)
{
    char root[HYBRID__PATH_MAX];
    memset(cache, 0, sizeof *cache);
    cache->rt = rt;
    cache->host = *desc;
    cache->host.path = NULL;
    if (desc->load || desc->store) return;
    if (desc->path) hybrid__cache_at(cache, desc->path, "");
    else if (hybrid__environment_path("HYBRID_CUDA_CACHE", root)) hybrid__cache_at(cache, root, "");
#if defined(_WIN32)
    else if (hybrid__environment_path("LOCALAPPDATA", root)) hybrid__cache_below(cache, root, "\\hybrid");
#else
    else if (hybrid__environment_path("XDG_CACHE_HOME", root) && root[0]) hybrid__cache_below(cache, root, "/hybrid");
    else if (hybrid__environment_path("HOME", root)) hybrid__cache_below(cache, root, "/.cache/hybrid");
#endif
}

static void hybrid__cache_name(const hybrid__cache_key *key, char name[HYBRID__CACHE_KEY_TEXT])
{
    snprintf(name, HYBRID__CACHE_KEY_TEXT, "%08lx%08lx%08lx%08lx.bin", (unsigned long)(key->a >> 32), (unsigned long)(key->a & 0xFFFFFFFFu),
             (unsigned long)(key->b >> 32), (unsigned long)(key->b & 0xFFFFFFFFu));
}

/* ---- disk ---- */

#ifdef HYBRID_NO_STDIO
static bool hybrid__cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    HYBRID__UNUSED(folder); HYBRID__UNUSED(name); HYBRID__UNUSED(data); HYBRID__UNUSED(size);
    return false;
}
#else
    #if defined(_WIN32)
static bool hybrid__cache_wide(const char *path, wchar_t wide[HYBRID__PATH_MAX]) { return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, HYBRID__PATH_MAX) > 0; }
static void hybrid__cache_mkdir(const char *path) { wchar_t w[HYBRID__PATH_MAX]; if (hybrid__cache_wide(path, w)) CreateDirectoryW(w, NULL); }
static FILE *hybrid__cache_open(const char *path) { wchar_t w[HYBRID__PATH_MAX]; return hybrid__cache_wide(path, w) ? _wfopen(w, L"wb") : NULL; }
static void hybrid__cache_remove(const char *path) { wchar_t w[HYBRID__PATH_MAX]; if (hybrid__cache_wide(path, w)) DeleteFileW(w); }
static bool hybrid__cache_rename(const char *from, const char *to)
{
    wchar_t a[HYBRID__PATH_MAX], b[HYBRID__PATH_MAX];
    return hybrid__cache_wide(from, a) && hybrid__cache_wide(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}
static unsigned long hybrid__process_id(void) { return GetCurrentProcessId(); }
    #else
static void hybrid__cache_mkdir(const char *path) { mkdir(path, 0700); }
static FILE *hybrid__cache_open(const char *path) { return fopen(path, "wb"); }
static void hybrid__cache_remove(const char *path) { remove(path); }
static bool hybrid__cache_rename(const char *from, const char *to) { return rename(from, to) == 0; }
static unsigned long hybrid__process_id(void) { return (unsigned long)getpid(); }
    #endif

/* Makes a folder and those above it. */
static void hybrid__cache_folders(const char *folder)
{
    char path[HYBRID__PATH_MAX];
    size_t i, n = strlen(folder);
    memcpy(path, folder, n + 1);
    for (i = 1; i <= n; i++) {
        char c = path[i];
        if (c && c != '/' && c != HYBRID__SEPARATOR) continue;
        path[i] = 0;
        hybrid__cache_mkdir(path);
        path[i] = c;
    }
}

static bool hybrid__cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    char path[HYBRID__PATH_MAX], temporary_name[HYBRID__CACHE_KEY_TEXT + 64], temporary[HYBRID__PATH_MAX];
    FILE *f;
    bool ok;
    /* Unlike any other writer's: of another process, or (by the address of a local) of another thread, or at another time. */
    snprintf(temporary_name, sizeof temporary_name, "%.32s.%lx.%lx.%lx", name, hybrid__process_id(), (unsigned long)(uintptr_t)&ok, (unsigned long)hybrid__now_us());
    if (!hybrid__path_join(path, folder, name) || !hybrid__path_join(temporary, folder, temporary_name)) return false;
    if (!(f = hybrid__cache_open(temporary))) {
        hybrid__cache_folders(folder);
        if (!(f = hybrid__cache_open(temporary))) return false;
    }
    ok = fwrite(data, 1, size, f) == size;
    ok = fclose(f) == 0 && ok;
    ok = ok && hybrid__cache_rename(temporary, path);
    if (!ok) hybrid__cache_remove(temporary);
    return ok;
}
#endif

/* ---- entries ---- */

static void hybrid__cache_header(unsigned char header[HYBRID__CACHE_HEADER], const hybrid__cache_key *key, const void *data, uint64_t size)
{
    const uint64_t version = HYBRID__CACHE_VERSION, hash = hybrid__hash_bytes(version, data, (size_t)size, HYBRID__HASH_A);
    memcpy(header, "HYBRIDCU", 8);
    memcpy(header + 8, &version, 8);
    memcpy(header + 16, &key->a, 8);
    memcpy(header + 24, &key->b, 8);
    memcpy(header + 32, &size, 8);
    memcpy(header + 40, &hash, 8);
}

/* The whole entry, read from the host's store or the disk; NULL when there is none. */
static unsigned char *hybrid__cache_read(hybrid__cache *cache, const char *name, size_t *size)
{
    unsigned char *entry = NULL;
    if (cache->host.load) {
        *size = cache->host.load(cache->host.user, name, NULL, 0);
        if (*size < HYBRID__CACHE_HEADER || !(entry = (unsigned char *)hybrid__alloc(cache->rt, *size))) return NULL;
        if (cache->host.load(cache->host.user, name, entry, *size) == *size) return entry;
    } else if (cache->folder[0]) {
        char path[HYBRID__PATH_MAX];
        hybrid_source source;
        hybrid__file f;
        memset(&source, 0, sizeof source);
        source.path = path;
        if (!hybrid__path_join(path, cache->folder, name) || hybrid__file_open(&source, &f, NULL)) return NULL;
        *size = (size_t)f.size;
        if (f.size < HYBRID__CACHE_HEADER || f.size > SIZE_MAX || !(entry = (unsigned char *)hybrid__alloc(cache->rt, *size)) || !hybrid__file_read(&f, 0, entry, *size, NULL)) {
            hybrid__file_close(&f);
            return entry;
        }
        hybrid__file_close(&f);
    }
    hybrid__free(cache->rt, entry);
    return NULL;
}

/* A binary from the cache: true, and a block of *size bytes with a zero behind it, freed by the caller. */
static bool hybrid__cache_get(hybrid__cache *cache, const hybrid__cache_key *key, void **data, size_t *size)
{
    unsigned char header[HYBRID__CACHE_HEADER], *entry;
    char name[HYBRID__CACHE_KEY_TEXT], *copy = NULL;
    size_t n = 0;
    hybrid__cache_name(key, name);
    if (!(entry = hybrid__cache_read(cache, name, &n))) return false;
    *size = n - HYBRID__CACHE_HEADER;
    hybrid__cache_header(header, key, entry + HYBRID__CACHE_HEADER, *size);
    if (!memcmp(header, entry, HYBRID__CACHE_HEADER) && (copy = (char *)hybrid__alloc(cache->rt, *size + 1)) != NULL) {
        memcpy(copy, entry + HYBRID__CACHE_HEADER, *size);
        copy[*size] = 0;
    }
    hybrid__free(cache->rt, entry);
    *data = copy;
    return copy != NULL;
}

/* Keeps a binary, if that is possible. */
static void hybrid__cache_put(hybrid__cache *cache, const hybrid__cache_key *key, const void *data, size_t size)
{
    unsigned char *entry;
    char name[HYBRID__CACHE_KEY_TEXT];
    if (!cache->host.store && !cache->folder[0]) return;
    if (!(entry = (unsigned char *)hybrid__alloc(cache->rt, HYBRID__CACHE_HEADER + size))) return;
    hybrid__cache_name(key, name);
    hybrid__cache_header(entry, key, data, size);
    memcpy(entry + HYBRID__CACHE_HEADER, data, size);
    if (cache->host.store) cache->host.store(cache->host.user, name, entry, HYBRID__CACHE_HEADER + size);
    else hybrid__cache_write(cache->folder, name, entry, HYBRID__CACHE_HEADER + size);
    hybrid__free(cache->rt, entry);
}
