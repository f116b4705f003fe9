/* infer/archive: the bytes around a saved game: who they belong to, parts, a checksum. All numbers are little-endian,
 * and so is every machine that gets this far.
 *
 *      0   "hybsaved"
 *      8   version (u32), kind (u32)
 *     16   bytes of all, from the first to the checksum's last (u64)
 *     24   the model's hash (u64, model/identity.c)
 *     32   parts, one after another: name (4 bytes), zero (u32), bytes of what follows (u64), what follows
 *    end   checksum of all bytes before it (u64)
 *
 * All sizes are known before the first byte goes out, so that it can go anywhere. What comes in is read twice: first to
 * see that every byte is what was written, then into objects. Whoever knows the formula of the checksum can write what
 * he likes: parts are a stranger's all the same. */
#ifndef HYB_INFER_ARCHIVE_C
#define HYB_INFER_ARCHIVE_C
#include "../api/saved.h"
#include "../core/checksum.c"
#include "../core/grow.c"
#include "../core/output.c"

enum {
    HYB_ARCHIVE_VERSION = 2, /* 2: sessions have a part "show" */
    HYB_ARCHIVE_HEAD = 32,
    HYB_ARCHIVE_PART = 16,
    HYB_ARCHIVE_SUM = 8,
    HYB_ARCHIVE_PARTS = 16
};
typedef enum hyb_archive_kind { HYB_ARCHIVE_SEQ = 1, HYB_ARCHIVE_SESSION = 2 } hyb_archive_kind;

/* ---- small parts, put together in memory ---- */

typedef struct hyb_pack {
    hybrid_runtime *rt;
    unsigned char *data;
    size_t n, capacity;
    hybrid_result result; /* of the first failure; what comes after it is left out */
    hybrid_error *error;
} hyb_pack;

static void hyb_pack_bytes(hyb_pack *p, const void *data, size_t n)
{
    size_t need;
    if (p->result) return;
    if (!hyb_add_size(p->n, n, &need))
        p->result = hyb_fail_memory(p->error, n);
    else
        p->result = HYB_GROW(p->rt, p->data, p->capacity, p->n, need, p->error);
    if (p->result || !n) return;
    memcpy(p->data + p->n, data, n);
    p->n = need;
}
static void hyb_pack_u32(hyb_pack *p, uint32_t v) { hyb_pack_bytes(p, &v, sizeof v); }
static void hyb_pack_u64(hyb_pack *p, uint64_t v) { hyb_pack_bytes(p, &v, sizeof v); }
static void hyb_pack_f32(hyb_pack *p, float v) { hyb_pack_bytes(p, &v, sizeof v); }
/* A text, or bytes: their number before them. */
static void hyb_pack_text(hyb_pack *p, const char *text, size_t n)
{
    hyb_pack_u64(p, n);
    hyb_pack_bytes(p, text, n);
}

/* What was put together, taken apart. Beyond the end there are zeros, and `bad` says so. */
typedef struct hyb_unpack {
    unsigned char *data; /* own; NULL: there is nothing */
    size_t n, at;
    bool bad;
} hyb_unpack;

static const void *hyb_unpack_bytes(hyb_unpack *u, uint64_t n)
{
    u->bad = u->bad || !u->data || n > u->n - u->at;
    if (u->bad) return NULL;
    u->at += (size_t)n;
    return u->data + u->at - n;
}
static uint32_t hyb_unpack_u32(hyb_unpack *u)
{
    const void *p = hyb_unpack_bytes(u, 4);
    return p ? hyb_load_u32(p) : 0;
}
static uint64_t hyb_unpack_u64(hyb_unpack *u)
{
    const void *p = hyb_unpack_bytes(u, 8);
    return p ? hyb_load_u64(p) : 0;
}
static float hyb_unpack_f32(hyb_unpack *u)
{
    const void *p = hyb_unpack_bytes(u, 4);
    return p ? hyb_load_f32(p) : 0;
}
static hybrid_string hyb_unpack_text(hyb_unpack *u)
{
    const uint64_t n = hyb_unpack_u64(u);
    hybrid_string s = { NULL, 0 };
    s.data = (const char *)hyb_unpack_bytes(u, n);
    s.size = s.data ? (size_t)n : 0;
    return s;
}
/* Whether everything was there, and nothing is left. */
static bool hyb_unpack_done(const hyb_unpack *u) { return !u->bad && u->at == u->n; }

/* ---- out ---- */

typedef struct hyb_archive_out {
    hybrid_runtime *rt;
    const hybrid_target *to; /* NULL: nothing goes anywhere, the bytes are counted */
    hyb_output file;
    hyb_checksum *sum;
    uint64_t written;
    int why; /* errno of a failure */
} hyb_archive_out;

/* Bytes of an archive around n_parts parts of n bytes together. */
static uint64_t hyb_archive_size(int n_parts, uint64_t n)
{
    return HYB_ARCHIVE_HEAD + (uint64_t)n_parts * HYB_ARCHIVE_PART + n + HYB_ARCHIVE_SUM;
}

/* A hybrid_write_fn: the next bytes. */
static bool hyb_archive_write_some(void *user, const void *data, size_t n)
{
    hyb_archive_out *out = (hyb_archive_out *)user;
    bool good = true;
    hyb_checksum_add(out->sum, data, n);
    errno = 0;
    if (out->to->write) {
        good = out->to->write(out->to->user, data, n);
        hyb_fp_plain();
    } else if (out->to->path)
        good = hyb_output_write(&out->file, data, n);
    else
        memcpy((char *)out->to->data + out->written, data, n); /* there is room: hyb_archive_begin */
    if (!good) out->why = errno;
    out->written += n;
    return good;
}

static hybrid_result hyb_archive_write(hyb_archive_out *out, const void *data, size_t n, hybrid_error *error)
{
    if (!n || hyb_archive_write_some(out, data, n)) return HYBRID_OK;
    if (out->to->path)
        return hyb_fail(error, HYBRID_ERROR_IO, "writing '%.120s' failed: %.60s", out->to->path, strerror(out->why));
    return hyb_fail(error, HYBRID_ERROR_IO, "nothing was saved: the function that takes the bytes refused them");
}

static hybrid_result hyb_archive_target(const hybrid_target *to, uint64_t size, hybrid_error *error)
{
    const int given = !!to->path + !!to->write + !!to->data;
    if (given != 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "give exactly one of path, write and data, not %d of them", given);
    if (to->path && !*to->path) return hyb_fail(error, HYBRID_ERROR_INVALID, "the path is empty: name a file");
    if (to->data && to->capacity < size)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "%llu bytes are needed to save this, and there are %llu",
                        (unsigned long long)size, (unsigned long long)to->capacity);
    return HYBRID_OK;
}

/* The head. After this, hyb_archive_end, whether it fails or not. */
static hybrid_result hyb_archive_begin(hyb_archive_out *out, hybrid_runtime *rt, const hybrid_target *to,
                                       hyb_archive_kind kind, uint64_t model, uint64_t size, hybrid_error *error)
{
    unsigned char head[HYB_ARCHIVE_HEAD];
    hybrid_result r;
    memset(out, 0, sizeof *out);
    out->rt = rt;
    out->to = to;
    if ((r = hyb_archive_target(to, size, error)) != HYBRID_OK) return r;
    if (!(out->sum = (hyb_checksum *)hyb_calloc(rt, 1, sizeof *out->sum)))
        return hyb_fail_memory(error, sizeof *out->sum);
    if (to->path && (r = hyb_output_open(rt, to->path, true, &out->file, error)) != HYBRID_OK) {
        hyb_free(rt, out->sum);
        out->sum = NULL; /* nothing is open */
        return r;
    }
    memcpy(head, "hybsaved", 8);
    hyb_store_u32(head + 8, HYB_ARCHIVE_VERSION);
    hyb_store_u32(head + 12, (uint32_t)kind);
    hyb_store_u64(head + 16, size);
    hyb_store_u64(head + 24, model);
    return hyb_archive_write(out, head, sizeof head, error);
}

/* A part of n bytes follows. */
static hybrid_result hyb_archive_part(hyb_archive_out *out, const char *name, uint64_t n, hybrid_error *error)
{
    unsigned char head[HYB_ARCHIVE_PART];
    memset(head, 0, sizeof head);
    memcpy(head, name, 4);
    hyb_store_u64(head + 8, n);
    return hyb_archive_write(out, head, sizeof head, error);
}

/* A part that was put together. */
static hybrid_result hyb_archive_packed(hyb_archive_out *out, const char *name, const hyb_pack *p, hybrid_error *error)
{
    const hybrid_result r = hyb_archive_part(out, name, p->n, error);
    return r ? r : hyb_archive_write(out, p->data, p->n, error);
}

/* The checksum, and the file's name; or, when r says that it failed, nothing remains. */
static hybrid_result hyb_archive_end(hyb_archive_out *out, hybrid_result r, hybrid_error *error)
{
    uint64_t sum;
    if (!out->sum) return r;
    sum = r ? 0 : hyb_checksum_end(out->sum);
    if (!r) r = hyb_archive_write(out, &sum, sizeof sum, error);
    if (r && out->to->path) hyb_output_abandon(out->rt, &out->file);
    if (!r && out->to->path) r = hyb_output_finish(out->rt, &out->file, error);
    hyb_free(out->rt, out->sum);
    return r;
}

/* ---- in ---- */

typedef struct hyb_archive_in {
    hybrid_runtime *rt;
    hyb_file file;
    struct {
        char name[4];
        bool asked; /* for it */
        uint64_t at, size;
    } parts[HYB_ARCHIVE_PARTS];
    int n_parts;
} hyb_archive_in;

static hybrid_result hyb_archive_check_head(const hyb_archive_in *in, const unsigned char *head, hyb_archive_kind kind,
                                            hybrid_error *error)
{
    static const char *const names[] = { "something else", "a sequence", "a session" };
    const uint32_t version = hyb_load_u32(head + 8), found = hyb_load_u32(head + 12);
    const uint64_t size = hyb_load_u64(head + 16);
    if (memcmp(head, "hybsaved", 8))
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "these bytes are no saved game: they do not begin with 'hybsaved'");
    if (version > HYB_ARCHIVE_VERSION)
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, 8,
                           "the saved game has version %lu, and this hybrid reads those up to %d: take a newer hybrid",
                           (unsigned long)version, HYB_ARCHIVE_VERSION);
    if (size != in->file.size)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, 16,
                           "the saved game is %s: it says that it has %llu bytes, and there are %llu",
                           size > in->file.size ? "truncated" : "damaged", (unsigned long long)size,
                           (unsigned long long)in->file.size);
    if (!version || found != (uint32_t)kind)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, 12, "these bytes are %s that was saved, and not %s",
                           names[found < HYB_COUNT(names) ? found : 0], names[kind]);
    return HYBRID_OK;
}

/* Whether all bytes give the checksum at their end. */
static hybrid_result hyb_archive_check_sum(hyb_archive_in *in, hybrid_error *error)
{
    enum { BLOCK = HYB_CHECKSUM_BLOCK };
    const uint64_t end = in->file.size - HYB_ARCHIVE_SUM;
    hyb_checksum *sum = (hyb_checksum *)hyb_calloc(in->rt, 1, sizeof *sum + BLOCK);
    unsigned char *block;
    uint64_t at, n, expected = 0;
    hybrid_result r = HYBRID_OK;
    if (!sum) return hyb_fail_memory(error, sizeof *sum + BLOCK);
    block = (unsigned char *)(sum + 1);
    for (at = 0; at < end && !r; at += n) {
        n = HYB_MIN(end - at, (uint64_t)BLOCK);
        if (in->file.data)
            hyb_checksum_add(sum, in->file.data + at, (size_t)n);
        else if ((r = hyb_file_read(&in->file, at, block, (size_t)n, error)) == HYBRID_OK)
            hyb_checksum_add(sum, block, (size_t)n);
    }
    if (!r) r = hyb_file_read(&in->file, end, &expected, sizeof expected, error);
    if (!r && hyb_checksum_end(sum) != expected)
        r = hyb_fail(error, HYBRID_ERROR_FORMAT,
                     "the saved game is damaged: its bytes do not give the checksum at their end");
    hyb_free(in->rt, sum);
    return r;
}

static hybrid_result hyb_archive_find_parts(hyb_archive_in *in, hybrid_error *error)
{
    const uint64_t end = in->file.size - HYB_ARCHIVE_SUM;
    unsigned char head[HYB_ARCHIVE_PART];
    uint64_t at = HYB_ARCHIVE_HEAD, n;
    hybrid_result r;
    for (in->n_parts = 0; at < end; in->n_parts++) {
        if (end - at < sizeof head || in->n_parts == HYB_ARCHIVE_PARTS) break;
        if ((r = hyb_file_read(&in->file, at, head, sizeof head, error)) != HYBRID_OK) return r;
        at += sizeof head;
        n = hyb_load_u64(head + 8);
        if (n > end - at || hyb_load_u32(head + 4)) break;
        memcpy(in->parts[in->n_parts].name, head, 4);
        in->parts[in->n_parts].asked = false;
        in->parts[in->n_parts].at = at;
        in->parts[in->n_parts].size = n;
        at += n;
    }
    if (at == end) return HYBRID_OK;
    return hyb_fail_at(error, HYBRID_ERROR_FORMAT, at, "the saved game is damaged: its parts do not fill it");
}

static hybrid_result hyb_archive_check(hyb_archive_in *in, hyb_archive_kind kind, uint64_t model, hybrid_error *error)
{
    unsigned char head[HYB_ARCHIVE_HEAD];
    hybrid_result r;
    if (in->file.size < HYB_ARCHIVE_HEAD + HYB_ARCHIVE_SUM)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "these bytes are no saved game: they are too few");
    if ((r = hyb_file_read(&in->file, 0, head, sizeof head, error)) != HYBRID_OK) return r;
    if ((r = hyb_archive_check_head(in, head, kind, error)) != HYBRID_OK) return r;
    if ((r = hyb_archive_check_sum(in, error)) != HYBRID_OK) return r;
    if (hyb_load_u64(head + 24) != model)
        return hyb_fail_at(error, HYBRID_ERROR_INVALID, 24,
                           "the saved game is another model's: its keys and weights are not those of this model");
    return hyb_archive_find_parts(in, error);
}

static void hyb_archive_close(hyb_archive_in *in) { hyb_file_close(&in->file); }

/* Opens and checks. On failure nothing is open. */
static hybrid_result hyb_archive_open(hyb_archive_in *in, hybrid_runtime *rt, const hybrid_source *from,
                                      hyb_archive_kind kind, uint64_t model, hybrid_error *error)
{
    hybrid_result r;
    memset(in, 0, sizeof *in);
    in->rt = rt;
    /* not mapped: a file that somebody makes shorter would kill the program */
    if ((r = hyb_file_open_as(from, false, &in->file, error)) != HYBRID_OK) return r;
    if ((r = hyb_archive_check(in, kind, model, error)) != HYBRID_OK) hyb_archive_close(in);
    return r;
}

/* The place of a part, or -1. */
static int hyb_archive_find(hyb_archive_in *in, const char *name)
{
    int i;
    for (i = 0; i < in->n_parts; i++)
        if (!memcmp(in->parts[i].name, name, 4) && !in->parts[i].asked) {
            in->parts[i].asked = true;
            return i;
        }
    return -1;
}

/* A whole part in memory. One that is not there is empty. u->data is freed by the caller. */
static hybrid_result hyb_archive_take(hyb_archive_in *in, const char *name, hyb_unpack *u, hybrid_error *error)
{
    const int i = hyb_archive_find(in, name);
    hybrid_result r;
    memset(u, 0, sizeof *u);
    if (i < 0 || !in->parts[i].size) return HYBRID_OK;
    if (in->parts[i].size > SIZE_MAX || !(u->data = (unsigned char *)hyb_alloc(in->rt, (size_t)in->parts[i].size)))
        return hyb_fail_memory(error, in->parts[i].size);
    u->n = (size_t)in->parts[i].size;
    if ((r = hyb_file_read(&in->file, in->parts[i].at, u->data, u->n, error)) == HYBRID_OK) return HYBRID_OK;
    hyb_free(in->rt, u->data);
    memset(u, 0, sizeof *u);
    return r;
}

/* After all parts that this version knows have been asked for. */
static hybrid_result hyb_archive_all(const hyb_archive_in *in, hybrid_error *error)
{
    int i;
    for (i = 0; i < in->n_parts; i++)
        if (!in->parts[i].asked)
            return hyb_fail_at(error, HYBRID_ERROR_FORMAT, in->parts[i].at,
                               "the saved game is damaged: it has a part too many");
    return HYBRID_OK;
}
#endif
