/* gguf/output: a file that appears under its name only when it is complete. */

typedef struct hybrid__output {
#ifndef HYBRID_NO_STDIO
    FILE *stream;
    char *path, *temporary;              /* one allocation, path first */
#else
    int   none;
#endif
} hybrid__output;

#ifndef HYBRID_NO_STDIO

#if defined(_WIN32)
static bool hybrid__output_wide(const char *path, wchar_t wide[1024]) { return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) > 0; }
static FILE *hybrid__output_create(const char *path)
{
    wchar_t wide[1024];
    return hybrid__output_wide(path, wide) ? _wfopen(wide, L"wb") : NULL;
}
static bool hybrid__output_remove(const char *path)
{
    wchar_t wide[1024];
    return hybrid__output_wide(path, wide) && DeleteFileW(wide);
}
static bool hybrid__output_rename(const char *from, const char *to)
{
    wchar_t a[1024], b[1024];
    return hybrid__output_wide(from, a) && hybrid__output_wide(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}
static unsigned long hybrid__output_process(void) { return GetCurrentProcessId(); }
#else
static FILE *hybrid__output_create(const char *path) { return fopen(path, "wb"); }
static bool hybrid__output_remove(const char *path) { return !remove(path); }
static bool hybrid__output_rename(const char *from, const char *to) { return !rename(from, to); }
static unsigned long hybrid__output_process(void) { return (unsigned long)getpid(); }
#endif

/* Ends without a result: nothing remains. */
static void hybrid__output_abandon(hybrid_runtime *rt, hybrid__output *o)
{
    if (o->stream) { fclose(o->stream); hybrid__output_remove(o->temporary); }
    hybrid__free(rt, o->path);
    memset(o, 0, sizeof *o);
}

static hybrid_result hybrid__output_open(hybrid_runtime *rt, const char *path, hybrid__output *o, hybrid_error *error)
{
    size_t n = strlen(path), room = n + 32;
    memset(o, 0, sizeof *o);
    if (!(o->path = (char *)hybrid__alloc(rt, n + 1 + room))) return hybrid__fail_memory(error, n + 1 + room);
    memcpy(o->path, path, n + 1);
    o->temporary = o->path + n + 1;
    snprintf(o->temporary, room, "%s.%lu.part", path, hybrid__output_process());
    if ((o->stream = hybrid__output_create(o->temporary))) return HYBRID_OK;
    hybrid__output_abandon(rt, o);
    return hybrid__fail(error, HYBRID_ERROR_IO, "cannot create a file beside '%.120s': %.60s", path, strerror(errno));
}

static bool hybrid__output_write(hybrid__output *o, const void *data, size_t n) { return fwrite(data, 1, n, o->stream) == n; }

static hybrid_result hybrid__output_finish(hybrid_runtime *rt, hybrid__output *o, hybrid_error *error)
{
    bool good = !fflush(o->stream);
    hybrid_result r = HYBRID_OK;
    good = !fclose(o->stream) && good;
    o->stream = NULL;
    if (!good) r = hybrid__fail(error, HYBRID_ERROR_IO, "writing '%.120s' failed: %.60s", o->path, strerror(errno));
    else if (!hybrid__output_rename(o->temporary, o->path))
        r = hybrid__fail(error, HYBRID_ERROR_IO, "cannot put the finished file in the place of '%.120s': %.60s", o->path, strerror(errno));
    if (r) hybrid__output_remove(o->temporary);
    hybrid__output_abandon(rt, o);
    return r;
}

#else

static void hybrid__output_abandon(hybrid_runtime *rt, hybrid__output *o) { HYBRID__UNUSED(rt); HYBRID__UNUSED(o); }
static hybrid_result hybrid__output_open(hybrid_runtime *rt, const char *path, hybrid__output *o, hybrid_error *error)
{
    HYBRID__UNUSED(rt); HYBRID__UNUSED(path);
    o->none = 0;
    return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this build has no files (HYBRID_NO_STDIO): write through a callback");
}
static bool hybrid__output_write(hybrid__output *o, const void *data, size_t n)
{
    HYBRID__UNUSED(o); HYBRID__UNUSED(data); HYBRID__UNUSED(n);
    return false;
}
static hybrid_result hybrid__output_finish(hybrid_runtime *rt, hybrid__output *o, hybrid_error *error)
{
    HYBRID__UNUSED(rt); HYBRID__UNUSED(o); HYBRID__UNUSED(error);
    return HYBRID_OK;
}

#endif
