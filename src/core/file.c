/* core/file: bytes from a path (mapped where the system can), from memory, or from the host's callbacks. */
#ifndef HYB_CORE_FILE_C
#define HYB_CORE_FILE_C
#include "base.c"
#include "fpenv.c"

typedef struct hyb_file {
    const unsigned char *data; /* all bytes, when mapped or in memory; else NULL: use hyb_file_read */
    uint64_t size;
    hybrid_reader reader; /* when !data */
    void *map;            /* to unmap */
    size_t map_size;
#ifndef HYBRID_NO_STDIO
    #if defined(_WIN32)
    FILE *stream; /* when neither */
    #else
    int fd; /* when neither: descriptor + 1 */
    #endif
#endif
} hyb_file;

#if !defined(HYBRID_NO_MMAP) && !defined(HYBRID_NO_STDIO)
    #if defined(_WIN32)
        #define HYB_MMAP_WIN32
    #elif defined(__unix__) || defined(__APPLE__)
        #define HYB_MMAP_POSIX
    #endif
#endif

static void hyb_file_close(hyb_file *f)
{
#if defined(HYB_MMAP_POSIX)
    if (f->map) munmap(f->map, f->map_size);
#elif defined(HYB_MMAP_WIN32)
    if (f->map) UnmapViewOfFile(f->map);
#endif
#ifndef HYBRID_NO_STDIO
    #if defined(_WIN32)
    if (f->stream) fclose(f->stream);
    #else
    if (f->fd) close(f->fd - 1);
    #endif
#endif
    if (f->reader.close) f->reader.close(f->reader.user);
    memset(f, 0, sizeof *f);
}

/* Where the name of the file begins in a path. */
static size_t hyb_path_base(const char *path)
{
    size_t i, base = 0;
    for (i = 0; path[i]; i++) {
#if defined(_WIN32)
        if (path[i] == '\\' || path[i] == ':') base = i + 1;
#endif
        if (path[i] == '/') base = i + 1;
    }
    return base;
}

/* A file's name for a message: the end of it tells the parts apart. */
static const char *hyb_path_end(const char *path, size_t most)
{
    const char *name = path + hyb_path_base(path);
    const size_t n = strlen(name);
    if (n > most) name += n - most;
    while (((unsigned char)*name & 0xC0) == 0x80) name++; /* not inside of a character */
    return name;
}

/* Whether anything has this name. */
static bool hyb_file_exists(const char *path)
{
#if defined(HYBRID_NO_STDIO)
    HYB_UNUSED(path);
    return false;
#elif defined(_WIN32)
    wchar_t wide[1024];
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) > 0 &&
           GetFileAttributesW(wide) != INVALID_FILE_ATTRIBUTES;
#else
    struct stat st;
    return !stat(path, &st);
#endif
}

#if !defined(HYBRID_NO_STDIO) && defined(_WIN32)
static hybrid_result hyb_file_open_path(const char *path, bool map, hyb_file *f, hybrid_error *error)
{
    wchar_t wide[1024];
    long long size;
    if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) <= 0)
        return hyb_fail(error, HYBRID_ERROR_IO, "'%.160s' is not a valid UTF-8 path", path);
    #if defined(HYB_MMAP_WIN32)
    if (map) {
        HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL), mapping;
        LARGE_INTEGER bytes;
        if (file == INVALID_HANDLE_VALUE)
            return hyb_fail(error, HYBRID_ERROR_IO, "cannot open '%.160s' (error %lu)", path, GetLastError());
        if (GetFileSizeEx(file, &bytes) && bytes.QuadPart &&
            (mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL)) != NULL) {
            f->size = (uint64_t)bytes.QuadPart;
            f->map = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
            f->data = (const unsigned char *)f->map;
            CloseHandle(mapping);
        }
        CloseHandle(file);
        if (f->data) return HYBRID_OK;
    }
    #else
    HYB_UNUSED(map);
    #endif
    if (!(f->stream = _wfopen(wide, L"rb"))) return hyb_fail(error, HYBRID_ERROR_IO, "cannot open '%.160s'", path);
    if (_fseeki64(f->stream, 0, SEEK_END) || (size = _ftelli64(f->stream)) < 0)
        return hyb_fail(error, HYBRID_ERROR_IO, "cannot tell the size of '%.160s'", path);
    f->size = (uint64_t)size;
    return HYBRID_OK;
}
static bool hyb_file_read_at(hyb_file *f, uint64_t offset, void *dst, size_t n)
{
    return f->stream && !_fseeki64(f->stream, (long long)offset, SEEK_SET) && fread(dst, 1, n, f->stream) == n;
}
#elif !defined(HYBRID_NO_STDIO)
static hybrid_result hyb_file_open_path(const char *path, bool map, hyb_file *f, hybrid_error *error)
{
    struct stat st;
    /* a pipe would wait for a writer; of a regular file it changes nothing */
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return hyb_fail(error, HYBRID_ERROR_IO, "cannot open '%.160s': %.60s", path, strerror(errno));
    f->fd = fd + 1;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return hyb_fail(error, HYBRID_ERROR_IO, "'%.160s' is not a regular file", path);
    f->size = (uint64_t)st.st_size;
    #if defined(HYB_MMAP_POSIX)
    if (map && f->size && f->size <= SIZE_MAX) {
        void *all = mmap(NULL, (size_t)f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (all != MAP_FAILED) {
            f->map = all;
            f->map_size = (size_t)f->size;
            f->data = (const unsigned char *)all;
            close(fd); /* the map does not need it, and a host has few: one for each part of a model */
            f->fd = 0;
        }
    }
    #else
    HYB_UNUSED(map);
    #endif
    return HYBRID_OK;
}
/* The position in the file belongs to the descriptor, which a forked child shares: it is used only where -std=c99 or an
 * old _POSIX_C_SOURCE hides pread. */
static ssize_t hyb_file_pread(int fd, void *dst, size_t n, off_t offset)
{
    #if defined(_GNU_SOURCE) || (defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE - 0 >= 200809L) || \
        (defined(_XOPEN_SOURCE) && _XOPEN_SOURCE - 0 >= 500) || \
        (!defined(__STRICT_ANSI__) && !defined(_POSIX_C_SOURCE) && !defined(_XOPEN_SOURCE))
    return pread(fd, dst, n, offset);
    #else
    return lseek(fd, offset, SEEK_SET) == offset ? read(fd, dst, n) : -1;
    #endif
}
static bool hyb_file_read_at(hyb_file *f, uint64_t offset, void *dst, size_t n)
{
    char *to = (char *)dst;
    if (!f->fd || (uint64_t)(off_t)offset != offset) return false;
    while (n) {
        ssize_t got = hyb_file_pread(f->fd - 1, to, HYB_MIN(n, (size_t)1 << 30), (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}
#else
static bool hyb_file_read_at(hyb_file *f, uint64_t offset, void *dst, size_t n)
{
    HYB_UNUSED(f);
    HYB_UNUSED(offset);
    HYB_UNUSED(dst);
    HYB_UNUSED(n);
    return false;
}
#endif

/* Opens one of the three. On failure nothing is left open, and a reader's close has been called. map: a path may be
 * mapped; a mapped file that somebody makes shorter kills the program that looks into it. */
static hybrid_result hyb_file_open_as(const hybrid_source *source, bool map, hyb_file *f, hybrid_error *error)
{
    int given = !!source->path + !!source->data + !!source->reader.read_at;
    hybrid_result r = HYBRID_OK;
    memset(f, 0, sizeof *f);
    f->reader = source->reader;
    if (given != 1)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "give exactly one of path, data and reader, not %d of them", given);
    else if (source->data) {
        f->data = (const unsigned char *)source->data;
        f->size = source->size;
    } else if (source->path && !*source->path)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "the path is empty: name a file");
    else if (source->path) {
#ifndef HYBRID_NO_STDIO
        r = hyb_file_open_path(source->path, map, f, error);
#else
        HYB_UNUSED(map);
        r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "this build has no files (HYBRID_NO_STDIO): use data or reader");
#endif
    } else
        f->size = source->reader.size;
    if (r) hyb_file_close(f);
    return r;
}

static hybrid_result hyb_file_open(const hybrid_source *source, hyb_file *f, hybrid_error *error)
{
    return hyb_file_open_as(source, true, f, error);
}

/* n bytes at offset, all or an error. */
static hybrid_result hyb_file_read(hyb_file *f, uint64_t offset, void *dst, size_t n, hybrid_error *error)
{
    if (offset > f->size || n > f->size - offset)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, offset,
                           "the file ends at byte %llu, but %llu bytes at %llu are needed: it is truncated",
                           (unsigned long long)f->size, (unsigned long long)n, (unsigned long long)offset);
    if (!n) return HYBRID_OK;
    if (f->data) {
        memcpy(dst, f->data + offset, n);
        return HYBRID_OK;
    }
    if (f->reader.read_at) {
        const bool good = f->reader.read_at(f->reader.user, offset, dst, n);
        hyb_fp_plain();
        if (good) return HYBRID_OK;
        return hyb_fail_at(error, HYBRID_ERROR_IO, offset, "the reader failed to deliver %llu bytes at %llu",
                           (unsigned long long)n, (unsigned long long)offset);
    }
    if (hyb_file_read_at(f, offset, dst, n)) return HYBRID_OK;
    return hyb_fail_at(error, HYBRID_ERROR_IO, offset, "reading %llu bytes at %llu failed", (unsigned long long)n,
                       (unsigned long long)offset);
}
#endif
