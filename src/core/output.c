/* core/output: a file that is written. It gets its name when it is complete, so that a failure leaves what was there;
 * it stays the file that it was: a link is followed, mode, owner and other names are kept. A device or a pipe is
 * written into.
 *
 * A lasting one, which a program writes again and again and can be killed at, is never written over: it is on the disk
 * before it gets its name, other names of the old file keep the old bytes, and what killed programs left beside it is
 * taken away. */
#ifndef HYB_CORE_OUTPUT_C
#define HYB_CORE_OUTPUT_C
#include "memory.c"
#include "file.c"
#include "thread.c"

typedef struct hyb_output {
#ifndef HYBRID_NO_STDIO
    FILE *stream;
    char *path;      /* of the file itself, at the end of all links; one allocation with temporary */
    char *temporary; /* beside it; NULL: the stream is the path, a device or a pipe */
    /* keep: it can only be written over, not replaced: it has other names, or an owner that we cannot give */
    bool exists, keep, lasting;
    unsigned mode, owner, group; /* of the existing file */
    size_t n_waiting;            /* bytes of a lasting one that the disk was not told of yet */
#else
    int none;
#endif
} hyb_output;

#ifndef HYBRID_NO_STDIO

enum { HYB_OUTPUT_AHEAD = 1 << 20 }; /* bytes after which the disk may begin with them */

/* What lies at a path, links followed. */
typedef struct hyb_output_look {
    bool exists, folder, stream, keep;
    int refused; /* errno that a write would give, or 0 */
    unsigned mode, owner, group;
    uint64_t device, number; /* the two together name the file */
} hyb_output_look;

/* Is this the name of an unfinished lasting file, NAME.123-4567.part? The number of its process, or -1. */
static long hyb_output_leftover(const char *found, const char *name)
{
    const size_t n = strlen(name);
    long process = 0;
    size_t i;
    if (strncmp(found, name, n) || found[n] != '.') return -1;
    for (i = n + 1; found[i] >= '0' && found[i] <= '9' && process < 100000000; i++)
        process = 10 * process + (found[i] - '0');
    if (i == n + 1 || found[i] != '-') return -1;
    for (i++; found[i] >= '0' && found[i] <= '9'; i++) {}
    return !strcmp(found + i, ".part") ? process : -1;
}

    #if defined(_WIN32)
static bool hyb_output_wide(const char *path, wchar_t wide[1024])
{
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) > 0;
}
static FILE *hyb_output_fopen(const char *path, bool write)
{
    wchar_t wide[1024];
    return hyb_output_wide(path, wide) ? _wfopen(wide, write ? L"wb" : L"rb") : NULL;
}
static FILE *hyb_output_fopen_end(const char *path)
{
    wchar_t wide[1024];
    return hyb_output_wide(path, wide) ? _wfopen(wide, L"ab") : NULL;
}
static bool hyb_output_remove(const char *path)
{
    wchar_t wide[1024];
    return hyb_output_wide(path, wide) && DeleteFileW(wide);
}
static unsigned long hyb_output_process(void) { return GetCurrentProcessId(); }

/* Puts a file's bytes on the disk. */
static bool hyb_output_settle(const char *path)
{
    wchar_t wide[1024];
    HANDLE file;
    bool good;
    if (!hyb_output_wide(path, wide)) return false;
    file = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return false;
    good = FlushFileBuffers(file) != 0;
    CloseHandle(file);
    if (!good) errno = EIO;
    return good;
}
static void hyb_output_settle_folder(const char *path) { HYB_UNUSED(path); }
static void hyb_output_ahead(const char *path) { HYB_UNUSED(path); }

/* Takes away the unfinished files of others: those that are being written cannot be deleted. */
static void hyb_output_sweep(hybrid_runtime *rt, const char *path)
{
    const size_t base = hyb_path_base(path), room = base + 3 * MAX_PATH + 1;
    wchar_t wide[1024];
    WIN32_FIND_DATAW found;
    HANDLE search;
    char *name = (char *)hyb_alloc(rt, room);
    if (!name) return;
    snprintf(name, room, "%s.*.part", path);
    search = hyb_output_wide(name, wide) ? FindFirstFileW(wide, &found) : INVALID_HANDLE_VALUE;
    memcpy(name, path, base);
    if (search != INVALID_HANDLE_VALUE) {
        do {
            if (WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name + base, 3 * MAX_PATH, NULL, NULL) > 0 &&
                hyb_output_leftover(name + base, path + base) >= 0)
                hyb_output_remove(name);
        } while (FindNextFileW(search, &found));
        FindClose(search);
    }
    hyb_free(rt, name);
}

/* Makes an empty file. Fails when anything has that name. */
static bool hyb_output_new(const char *path)
{
    wchar_t wide[1024];
    HANDLE file;
    if (!hyb_output_wide(path, wide)) return false;
    file = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        errno = GetLastError() == ERROR_FILE_EXISTS ? EEXIST : EACCES;
        return false;
    }
    CloseHandle(file);
    return true;
}

/* A link is not replaced but written through; one that leads nowhere is written into as a pipe is, which makes its
 * target. */
static void hyb_output_see(const char *path, hyb_output_look *t)
{
    wchar_t wide[1024];
    BY_HANDLE_FILE_INFORMATION info;
    DWORD attributes;
    HANDLE file;
    if (!hyb_output_wide(path, wide)) return;
    attributes = wcsncmp(wide, L"\\\\.\\", 4) ? GetFileAttributesW(wide) : FILE_ATTRIBUTE_DEVICE;
    t->exists = attributes != INVALID_FILE_ATTRIBUTES;
    t->stream = t->exists && (attributes & FILE_ATTRIBUTE_DEVICE);
    t->folder = t->exists && (attributes & FILE_ATTRIBUTE_DIRECTORY);
    if (!t->exists || t->stream || t->folder) return;
    file = CreateFileW(wide, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                       OPEN_EXISTING, 0, NULL);
    t->stream = file == INVALID_HANDLE_VALUE || GetFileType(file) != FILE_TYPE_DISK;
    if (file == INVALID_HANDLE_VALUE) return;
    t->keep = (attributes & FILE_ATTRIBUTE_REPARSE_POINT) ||
              (GetFileInformationByHandle(file, &info) && info.nNumberOfLinks > 1);
    if (attributes & FILE_ATTRIBUTE_READONLY) t->refused = EACCES;
    CloseHandle(file);
}

static char *hyb_output_follow(hybrid_runtime *rt, const char *path)
{
    const size_t n = strlen(path) + 1;
    char *copy = (char *)hyb_alloc(rt, n);
    if (copy)
        memcpy(copy, path, n);
    else
        errno = ENOMEM;
    return copy;
}

static bool hyb_output_place(const hyb_output *o)
{
    wchar_t from[1024], to[1024];
    if (!hyb_output_wide(o->temporary, from) || !hyb_output_wide(o->path, to)) return false;
    return (o->exists && ReplaceFileW(to, from, NULL, 0, NULL, NULL)) ||
           MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING);
}

    #else

static FILE *hyb_output_fopen(const char *path, bool write) { return fopen(path, write ? "wb" : "rb"); }
static FILE *hyb_output_fopen_end(const char *path) { return fopen(path, "ab"); }
static bool hyb_output_remove(const char *path) { return !remove(path); }
static unsigned long hyb_output_process(void) { return (unsigned long)getpid(); }

/* Puts a file's bytes on the disk; some file systems have no such thing. */
static bool hyb_output_settle(const char *path)
{
    const int fd = open(path, O_WRONLY);
    bool good;
    if (fd < 0) return false;
    good = !fsync(fd) || errno == EINVAL;
    if (close(fd)) good = false;
    return good;
}

/* The disk may begin with what was written: so it works while the rest is made, and there is less to wait for in the
 * end. Elsewhere it begins when it is asked for all of it. */
static void hyb_output_ahead(const char *path)
{
        #if defined(__linux__) && defined(__GLIBC__)
            #if !defined(__USE_GNU)
    extern int sync_file_range(int, int64_t, int64_t, unsigned); /* hidden without _GNU_SOURCE */
            #endif
    enum { WRITE = 2 }; /* SYNC_FILE_RANGE_WRITE: starts, and waits for nothing */
    const int fd = open(path, O_WRONLY);
    if (fd < 0) return;
    if (sync_file_range(fd, 0, 0, WRITE)) errno = 0; /* a file system may have no such thing */
    close(fd);
        #else
    HYB_UNUSED(path);
        #endif
}

/* Puts the name that a file got on the disk. It has it by now, so that a failure changes nothing. */
static void hyb_output_settle_folder(const char *path)
{
    char folder[4096];
    const size_t base = hyb_path_base(path);
    int fd;
    if (base >= sizeof folder) return;
    memcpy(folder, base ? path : ".", base ? base : 1);
    folder[base ? base : 1] = 0;
    if ((fd = open(folder, O_RDONLY)) < 0) return;
    if (fsync(fd)) errno = 0;
    close(fd);
}

static bool hyb_output_lives(long process)
{
        #if defined(__GLIBC__) && defined(__STRICT_ANSI__) && !defined(__cplusplus) && !defined(__USE_POSIX)
    extern int kill(pid_t, int); /* hidden by -std=c99 */
        #endif
    return !kill((pid_t)process, 0) || errno != ESRCH;
}

/* Takes away the unfinished files of programs that are gone, and those of this process's number, which is that of an
 * earlier one (in a container every program is number 1): a lasting file is written by one thread at a time. */
static void hyb_output_sweep(hybrid_runtime *rt, const char *path)
{
    const size_t base = hyb_path_base(path);
    const struct dirent *entry;
    char *name = (char *)hyb_alloc(rt, strlen(path) + 1);
    DIR *folder;
    if (!name) return;
    memcpy(name, path, base);
    name[base] = 0;
    folder = opendir(base ? name : ".");
    hyb_free(rt, name);
    while (folder && (entry = readdir(folder)) != NULL) {
        const size_t n = strlen(entry->d_name) + 1;
        long process = hyb_output_leftover(entry->d_name, path + base);
        const bool ours = process > 0 && (unsigned long)process == hyb_output_process();
        if (process < 0) process = hyb_output_leftover(entry->d_name, ".hybrid"); /* of any long name */
        if (process <= 0 || (!ours && hyb_output_lives(process))) continue;
        if (!(name = (char *)hyb_alloc(rt, base + n))) break;
        memcpy(name, path, base);
        memcpy(name + base, entry->d_name, n);
        hyb_output_remove(name);
        hyb_free(rt, name);
    }
    if (folder) closedir(folder);
}

/* Makes an empty file. Fails when anything has that name, a link that somebody laid there included. */
static bool hyb_output_new(const char *path)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0) return false;
    close(fd);
    return true;
}

static void hyb_output_see(const char *path, hyb_output_look *t)
{
    struct stat st;
    if (stat(path, &st)) return;
    t->exists = true;
    t->folder = S_ISDIR(st.st_mode);
    t->stream = !t->folder && !S_ISREG(st.st_mode);
    t->keep = st.st_nlink > 1;
    t->mode = (unsigned)st.st_mode & 07777;
    t->owner = (unsigned)st.st_uid;
    t->group = (unsigned)st.st_gid;
    t->device = (uint64_t)st.st_dev;
    t->number = (uint64_t)st.st_ino;
    if (!t->stream && access(path, W_OK)) t->refused = errno;
}

/* The path at the end of a chain of links, which may lead to nothing. NULL: errno says why. */
static char *hyb_output_follow(hybrid_runtime *rt, const char *path)
{
        #if defined(__GLIBC__) && defined(__STRICT_ANSI__) && !defined(__cplusplus) && \
            !defined(__USE_XOPEN_EXTENDED) && !defined(__USE_XOPEN2K)
    extern ssize_t readlink(const char *, char *, size_t); /* hidden by -std=c99 */
        #endif
    enum { LONGEST = 4096, MOST = 40 };
    char *at = (char *)hyb_alloc(rt, strlen(path) + 1), *link = (char *)hyb_alloc(rt, LONGEST), *next;
    int turns, why = ENOMEM;
    if (at && link) memcpy(at, path, strlen(path) + 1);
    for (turns = 0; at && link; turns++) {
        const ssize_t n = readlink(at, link, LONGEST);
        const size_t base = n > 0 && link[0] != '/' ? hyb_path_base(at) : 0;
        if (n < 0) {
            hyb_free(rt, link);
            return at;
        }
        next = NULL;
        if (n == LONGEST || turns == MOST)
            why = n == LONGEST ? ENAMETOOLONG : ELOOP;
        else if ((next = (char *)hyb_alloc(rt, base + (size_t)n + 1)) != NULL) {
            memcpy(next, at, base);
            memcpy(next + base, link, (size_t)n);
            next[base + (size_t)n] = 0;
        }
        hyb_free(rt, at);
        at = next;
    }
    hyb_free(rt, at);
    hyb_free(rt, link);
    errno = why;
    return NULL;
}

/* Gives the finished file its name, with the mode and owner of the one whose place it takes. */
static bool hyb_output_place(const hyb_output *o)
{
    struct stat st;
    if (o->exists) {
        if (stat(o->temporary, &st)) return false;
        if ((st.st_uid != o->owner || st.st_gid != o->group) && chown(o->temporary, o->owner, o->group) && !o->lasting)
            return false;
        if (chmod(o->temporary, (mode_t)o->mode) && !o->lasting) return false;
    }
    return !rename(o->temporary, o->path);
}
    #endif

/* Gives up: nothing remains on the disk. */
static void hyb_output_abandon(hybrid_runtime *rt, hyb_output *o)
{
    if (o->stream) {
        fclose(o->stream);
        if (o->temporary) hyb_output_remove(o->temporary);
    }
    hyb_free(rt, o->path);
    memset(o, 0, sizeof *o);
}

/* A new file beside path, of a name that no other writer has. false: errno says why. */
static bool hyb_output_beside(hyb_output *o, size_t room)
{
    const size_t base = hyb_path_base(o->path);
    /* a name that no thread of this process had: another may take its unfinished file for a leftover */
    const unsigned long long since = o->lasting ? (unsigned long long)hyb_now_ns() : 0;
    int i;
    bool brief = false;
    for (i = 0; i < 1000; i++) {
        char number[32] = "";
        if (i || o->lasting) snprintf(number, sizeof number, "-%llu", since + (unsigned)i);
        if (brief)
            snprintf(o->temporary, room, "%.*s.hybrid.%lu%s.part", (int)base, o->path, hyb_output_process(), number);
        else
            snprintf(o->temporary, room, "%s.%lu%s.part", o->path, hyb_output_process(), number);
        if (hyb_output_new(o->temporary)) {
            if ((o->stream = hyb_output_fopen(o->temporary, true)) != NULL) return true;
            hyb_output_remove(o->temporary);
            return false;
        }
        /* the name may be so long that the system takes no more after it */
        if (errno == ENAMETOOLONG && !brief)
            brief = true;
        else if (errno != EEXIST)
            return false;
    }
    return false;
}

/* Looks at a path and finds what it leads to; *target is freed by the caller. A link of /proc may lead to a file that
 * has no name any more: then there is nothing to be replaced, and it is written into as a pipe is. */
static hybrid_result hyb_output_find(hybrid_runtime *rt, const char *path, hyb_output_look *look, char **target,
                                     hybrid_error *error)
{
    enum { LOOKS = 64 };
    hyb_output_look behind;
    int turns;
    for (turns = 0; turns < LOOKS; turns++) { /* another writer may have given the file its name in between */
        memset(look, 0, sizeof *look);
        memset(&behind, 0, sizeof behind);
        hyb_output_see(path, look);
        if (look->folder) return hyb_fail(error, HYBRID_ERROR_IO, "'%.160s' is a folder: name a file in it", path);
        if (look->refused)
            return hyb_fail(error, HYBRID_ERROR_IO, "'%.120s' cannot be written: %.60s", path, strerror(look->refused));
        if (!(*target = hyb_output_follow(rt, path))) {
            if (errno == ENOMEM) return hyb_fail_memory(error, strlen(path) + 4096);
            return hyb_fail(error, HYBRID_ERROR_IO, "'%.120s' leads nowhere: %.60s", path, strerror(errno));
        }
        if (!look->exists || look->stream || !strcmp(*target, path)) return HYBRID_OK;
        hyb_output_see(*target, &behind);
        if (behind.exists && behind.device == look->device && behind.number == look->number) return HYBRID_OK;
        if (turns < LOOKS - 1) hyb_free(rt, *target);
    }
    look->stream = true;
    return HYBRID_OK;
}

static hybrid_result hyb_output_open(hybrid_runtime *rt, const char *path, bool lasting, hyb_output *o,
                                     hybrid_error *error)
{
    hyb_output_look look;
    char *target;
    size_t n, room;
    hybrid_result r;
    memset(o, 0, sizeof *o);
    if ((r = hyb_output_find(rt, path, &look, &target, error)) != HYBRID_OK) return r;
    n = strlen(look.stream ? path : target);
    room = n + 80;
    o->path = (char *)hyb_alloc(rt, n + 1 + room);
    if (o->path) memcpy(o->path, look.stream ? path : target, n + 1);
    hyb_free(rt, target);
    if (!o->path) return hyb_fail_memory(error, n + 1 + room);
    o->exists = look.exists;
    o->keep = look.keep && !lasting;
    o->lasting = lasting;
    o->mode = look.mode;
    o->owner = look.owner;
    o->group = look.group;
    if (look.stream && (o->stream = hyb_output_fopen(path, true)) != NULL) return HYBRID_OK;
    o->temporary = look.stream ? NULL : o->path + n + 1;
    if (lasting && !look.stream) hyb_output_sweep(rt, o->path);
    if (!look.stream && hyb_output_beside(o, room)) return HYBRID_OK;
    r = hyb_fail(error, HYBRID_ERROR_IO,
                 look.stream ? "cannot write to '%.120s': %.60s" : "cannot create a file beside '%.120s': %.60s", path,
                 strerror(errno));
    hyb_output_abandon(rt, o);
    return r;
}

static bool hyb_output_write(hyb_output *o, const void *data, size_t n)
{
    if (fwrite(data, 1, n, o->stream) != n) return false;
    o->n_waiting += n;
    if (!o->lasting || !o->temporary || o->n_waiting < HYB_OUTPUT_AHEAD) return true;
    o->n_waiting = 0;
    if (fflush(o->stream)) return false;
    hyb_output_ahead(o->temporary);
    return true;
}

/* Writes the finished file over one that cannot be replaced. *begun: what was there is lost. */
static bool hyb_output_over(const hyb_output *o, bool *begun)
{
    char block[4096];
    FILE *from = hyb_output_fopen(o->temporary, false), *to = from ? hyb_output_fopen(o->path, true) : NULL;
    bool good = *begun = to != NULL;
    size_t n;
    while (good && (n = fread(block, 1, sizeof block, from)) != 0) good = fwrite(block, 1, n, to) == n;
    good = good && !ferror(from);
    if (from) fclose(from);
    if (to) good = !fclose(to) && good;
    return good;
}

static hybrid_result hyb_output_finish(hybrid_runtime *rt, hyb_output *o, hybrid_error *error)
{
    bool good = !fflush(o->stream), named = false, begun = false;
    hybrid_result r = HYBRID_OK;
    good = !fclose(o->stream) && good;
    o->stream = NULL;
    if (good && o->temporary && o->lasting) good = hyb_output_settle(o->temporary);
    if (!good)
        r = hyb_fail(error, HYBRID_ERROR_IO, "writing '%.120s' failed: %.60s", o->path, strerror(errno));
    else if (o->temporary) {
        if (!o->keep) named = hyb_output_place(o);
        if (named && o->lasting) hyb_output_settle_folder(o->path);
        if (!named && !(o->exists && !o->lasting && hyb_output_over(o, &begun)))
            r = hyb_fail(error, HYBRID_ERROR_IO, "cannot put the finished file in the place of '%.80s': %.60s%s%.60s",
                         o->path, strerror(errno), begun ? "; it is beside it, as " : "",
                         begun ? hyb_path_end(o->temporary, 60) : "");
    }
    if (o->temporary && !named && !(r && begun)) hyb_output_remove(o->temporary);
    hyb_output_abandon(rt, o);
    return r;
}

/* A file that only grows, by pieces that are handed to the system at once. */
typedef struct hyb_append {
    FILE *stream;
} hyb_append;

static hybrid_result hyb_append_open(const char *path, hyb_append *a, hybrid_error *error)
{
    if ((a->stream = hyb_output_fopen_end(path)) != NULL) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_IO, "cannot write to '%.120s': %.60s", path, strerror(errno));
}
static bool hyb_append_write(hyb_append *a, const void *data, size_t n)
{
    return a->stream && fwrite(data, 1, n, a->stream) == n && !fflush(a->stream);
}
static void hyb_append_close(hyb_append *a)
{
    if (a->stream) fclose(a->stream);
    a->stream = NULL;
}

#else

typedef struct hyb_append {
    int none;
} hyb_append;

static hybrid_result hyb_append_open(const char *path, hyb_append *a, hybrid_error *error)
{
    HYB_UNUSED(path);
    a->none = 0;
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "this build has no files (HYBRID_NO_STDIO): write through a callback");
}
static bool hyb_append_write(hyb_append *a, const void *data, size_t n)
{
    HYB_UNUSED(a);
    HYB_UNUSED(data);
    HYB_UNUSED(n);
    return false;
}
static void hyb_append_close(hyb_append *a) { HYB_UNUSED(a); }

static void hyb_output_abandon(hybrid_runtime *rt, hyb_output *o)
{
    HYB_UNUSED(rt);
    HYB_UNUSED(o);
}
static hybrid_result hyb_output_open(hybrid_runtime *rt, const char *path, bool lasting, hyb_output *o,
                                     hybrid_error *error)
{
    HYB_UNUSED(rt);
    HYB_UNUSED(lasting);
    HYB_UNUSED(path);
    o->none = 0;
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "this build has no files (HYBRID_NO_STDIO): write through a callback");
}
static bool hyb_output_write(hyb_output *o, const void *data, size_t n)
{
    HYB_UNUSED(o);
    HYB_UNUSED(data);
    HYB_UNUSED(n);
    return false;
}
static hybrid_result hyb_output_finish(hybrid_runtime *rt, hyb_output *o, hybrid_error *error)
{
    HYB_UNUSED(rt);
    HYB_UNUSED(o);
    HYB_UNUSED(error);
    return HYBRID_OK;
}

#endif
#endif
