/* The GGUF reader and writer, against what gguf-py writes and sees (tests/oracle/make_gguf.py), and against damaged
 * files. */
#include "chosen.h"
#include "private.h"
#include "split.h"
#if !defined(_WIN32)
    #include <dirent.h>
    #include <signal.h>
    #include <sys/types.h>
    #include <sys/wait.h>
    #if defined(__linux__)
        #include <sys/sysmacros.h>
    #endif
#endif

#define TYPES "tests/oracle/data/gguf/types.gguf"
#define EMPTY "tests/oracle/data/gguf/empty.gguf"

/* ---- tools: checksum, an allocator that counts and fails, a reader that counts and fails, files made byte by byte */

static uint32_t crc32_of(uint32_t crc, const void *data, size_t n)
{
    static uint32_t table[256];
    const unsigned char *p = (const unsigned char *)data;
    uint32_t i, c;
    int k;
    if (!table[1])
        for (i = 0; i < 256; i++) {
            for (c = i, k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
            table[i] = c;
        }
    crc = ~crc;
    while (n--) crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return ~crc;
}

typedef struct memory_log {
    long calls, fail_at, alive; /* fail_at: the number of the call that fails, 0: none */
    size_t bytes, peak;
} memory_log;

static void *log_alloc(void *user, size_t size)
{
    memory_log *log = (memory_log *)user;
    size_t *p;
    if (++log->calls == log->fail_at || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    log->alive++;
    log->bytes += size;
    if (log->bytes > log->peak) log->peak = log->bytes;
    return (char *)p + 16;
}

static void log_free(void *user, void *block)
{
    memory_log *log = (memory_log *)user;
    size_t *p = (size_t *)((char *)block - 16);
    log->alive--;
    log->bytes -= *p;
    free(p);
}

static hybrid_runtime *runtime_of(memory_log *log)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    memset(log, 0, sizeof *log);
    desc.allocator.alloc = log_alloc;
    desc.allocator.free = log_free;
    desc.allocator.user = log;
    desc.n_threads = 1;
    CHECK(!hybrid_runtime_create(&desc, &rt, NULL), "no runtime");
    return rt;
}

typedef struct file_log {
    const unsigned char *data;
    uint64_t size; /* bytes at data; beyond them zeros are delivered */
    int reads, fail_at, closed;
} file_log;

static bool log_read_at(void *user, uint64_t offset, void *dst, size_t n)
{
    file_log *f = (file_log *)user;
    size_t have = offset < f->size ? (size_t)(f->size - offset) : 0;
    if (++f->reads == f->fail_at) return false;
    if (have > n) have = n;
    if (have) memcpy(dst, f->data + offset, have);
    memset((char *)dst + have, 0, n - have);
    return true;
}

static void log_close(void *user) { ((file_log *)user)->closed++; }

static hybrid_source memory_source(const void *data, size_t size)
{
    hybrid_source s;
    memset(&s, 0, sizeof s);
    s.data = data;
    s.size = size;
    return s;
}

static hybrid_source reader_source(file_log *f, const void *data, size_t size)
{
    hybrid_source s;
    memset(&s, 0, sizeof s);
    memset(f, 0, sizeof *f);
    f->data = (const unsigned char *)data;
    f->size = size;
    s.reader.read_at = log_read_at;
    s.reader.close = log_close;
    s.reader.size = size;
    s.reader.user = f;
    return s;
}

typedef struct bytes {
    unsigned char data[65536];
    size_t size;
} bytes;

static void put(bytes *b, const void *data, size_t n)
{
    if (b->size + n > sizeof b->data) {
        printf("a test file is too large\n");
        exit(1);
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
}
static void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}
static void put_header(bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    b->size = 0;
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_keys);
}
static void put_tensor(bytes *b, const char *name, uint32_t n_dims, uint64_t ne0, uint64_t ne1, uint32_t type,
                       uint64_t offset)
{
    uint32_t i;
    put_text(b, name);
    put_u32(b, n_dims);
    for (i = 0; i < n_dims; i++) put_u64(b, i == 0 ? ne0 : i == 1 ? ne1 : 1);
    put_u32(b, type);
    put_u64(b, offset);
}
static void put_zeros(bytes *b, size_t n)
{
    while (n--) put(b, "", 1);
}

/* ---- looking at everything in a file, through the public functions only ------------------------------------------ */

static uint32_t value_crc(uint32_t crc, const hybrid_gguf_value *v)
{
    uint64_t i;
    if (v->type == HYBRID_GGUF_ARRAY) {
        uint32_t type = (uint32_t)v->item_type;
        crc = crc32_of(crc32_of(crc, &type, 4), &v->count, 8);
    }
    if (v->item_type == HYBRID_GGUF_STRING || v->item_type == HYBRID_GGUF_ARRAY) {
        for (i = 0; i < v->count; i++) {
            hybrid_gguf_value item;
            if (v->item_type == HYBRID_GGUF_STRING) {
                hybrid_string s = hybrid_gguf_item_string(v, i);
                uint64_t n = s.size;
                crc = crc32_of(crc32_of(crc, &n, 8), s.data, s.size);
            } else if (hybrid_gguf_item_array(v, i, &item))
                crc = value_crc(crc, &item);
        }
        return crc;
    }
    return crc32_of(crc, v->data, (size_t)v->size);
}

/* Touches all that a program can reach; returns a checksum of it. */
static uint32_t look_at_all(hybrid_gguf *g)
{
    uint32_t crc = 0;
    size_t i;
    for (i = 0; i < hybrid_gguf_key_count(g); i++) {
        hybrid_gguf_value v;
        hybrid_string name = hybrid_gguf_key(g, i, &v);
        double sum = hybrid_gguf_item_f64(&v, 0) + (double)hybrid_gguf_item_i64(&v, v.count - 1);
        crc = crc32_of(value_crc(crc, &v), name.data, name.size);
        if (sum == 12345.678) crc++;
    }
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        char *copy = t->size < 1 << 24 ? (char *)malloc((size_t)t->size + 1) : NULL;
        crc = crc32_of(crc, t->name.data, t->name.size);
        if (copy && !hybrid_gguf_read_tensor(g, t, copy, NULL)) crc = crc32_of(crc, copy, (size_t)t->size);
        free(copy);
    }
    return crc;
}

/* One line of the dump, compared with the next line of the oracle's. */
static void expect_line(char **at, const char *file, const char *line)
{
    size_t n = strcspn(*at, "\n");
    CHECK(n == strlen(line) && !memcmp(*at, line, n), "%s:\n  gguf-py %.*s\n  hybrid  %s", file, (int)n, *at, line);
    *at += n + ((*at)[n] == '\n');
}

static void expect_dump(hybrid_gguf *g, const char *name, char **at)
{
    char line[512];
    bool known = true;
    uint32_t crc = 0;
    size_t i;
    int d, n;
    snprintf(line, sizeof line, "F %s %d %d %d %d", name, hybrid_gguf_version(g), (int)hybrid_gguf_key_count(g),
             (int)hybrid_gguf_tensor_count(g), (int)hybrid_gguf_alignment(g));
    expect_line(at, name, line);
    for (i = 0; i < hybrid_gguf_key_count(g); i++) {
        hybrid_gguf_value v;
        hybrid_string key = hybrid_gguf_key(g, i, &v);
        snprintf(line, sizeof line, "K %d %d %d %08x %.*s", (int)v.type,
                 v.type == HYBRID_GGUF_ARRAY ? (int)v.item_type : -1, (int)v.count, (unsigned)value_crc(0, &v),
                 (int)key.size, key.data);
        expect_line(at, name, line);
    }
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        char *data = (char *)malloc((size_t)t->size + 1);
        hybrid_result r = hybrid_gguf_read_tensor(g, t, data, NULL);
        known = known && t->type != HYBRID_TYPE_LAST_;
        CHECK(r == (t->type != HYBRID_TYPE_LAST_ ? HYBRID_OK : HYBRID_ERROR_UNSUPPORTED), "%s: tensor %d: %s", name,
              (int)i, hybrid_result_text(r));
        n = snprintf(line, sizeof line, "%.*s %lu %d", (int)t->name.size, t->name.data, (unsigned long)t->type_id,
                     t->n_dims);
        for (d = 0; d < t->n_dims; d++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %llu", (unsigned long long)t->ne[d]);
        snprintf(line + n, sizeof line - (size_t)n, " %llu %llu %08x\n", (unsigned long long)t->offset,
                 (unsigned long long)t->size, (unsigned)crc32_of(0, data, (size_t)t->size));
        crc = crc32_of(crc, line, strlen(line));
        free(data);
    }
    snprintf(line, sizeof line, "T %d %08x", (int)hybrid_gguf_tensor_count(g), (unsigned)crc);
    if (known)
        expect_line(at, name, line); /* of unknown types hybrid cannot tell the size */
    else
        *at += strcspn(*at, "\n") + 1;
}

/* ---- writing a file anew ----------------------------------------------------------------------------------------- */

typedef struct sink {
    unsigned char *data;
    size_t size, room;
    int calls, fail_at;
} sink;

static bool sink_write(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (++s->calls == s->fail_at) return false;
    if (s->size + n > s->room) {
        s->room = (s->size + n) * 2;
        s->data = (unsigned char *)realloc(s->data, s->room);
    }
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

/* Copies keys and tensors of g; the data in two pieces each. */
static hybrid_result write_copy(hybrid_runtime *rt, hybrid_gguf *g, sink *out, hybrid_error *error)
{
    hybrid_gguf_writer *w;
    hybrid_result r = hybrid_gguf_writer_create(rt, &w, error);
    size_t i;
    if (r) return r;
    r = hybrid_gguf_copy_keys(w, g, error);
    for (i = 0; !r && i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        r = hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, error);
    }
    if (!r) r = hybrid_gguf_begin(w, sink_write, out, error);
    for (i = 0; !r && i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        size_t half = (size_t)t->size / 3;
        r = hybrid_gguf_write(w, t->data, half, error);
        if (!r) r = hybrid_gguf_write(w, (const char *)t->data + half, (size_t)t->size - half, error);
    }
    if (!r) r = hybrid_gguf_end(w, error);
    hybrid_gguf_writer_destroy(w);
    return r;
}

/* ---- the tests --------------------------------------------------------------------------------------------------- */

/* Every file as gguf-py sees it, mapped, from memory and through a reader; and written again it is the same bytes. */
static void test_dumps(void)
{
    char *dump = read_file("tests/oracle/data/gguf/dump.txt", NULL), *at = dump, *end;
    bool data = data_path("vocab/ggml-vocab-gpt-2.gguf") != NULL;
    TEST("as gguf-py sees it");
    if (!dump) {
        CHECK(false, "tests/oracle/data/gguf/dump.txt is missing");
        return;
    }
    if (!data) SKIP("the test data is not here: set HYBRID_DATA");
    while (*at == 'F') {
        char name[256], path[1024];
        size_t size;
        char *content;
        int way;
        sscanf(at, "F %255s", name);
        snprintf(path, sizeof path, "%s",
                 !strcmp(name, "types.gguf")   ? TYPES
                 : !strcmp(name, "empty.gguf") ? EMPTY
                 : data_path(name)             ? data_path(name)
                                               : "");
        content = read_file(path, &size);
        for (end = at + 1; *end && *end != 'F'; end += strcspn(end, "\n") + 1) {}
        for (way = 0; way < 3 && content; way++) {
            hybrid_source source = memory_source(content, size);
            hybrid_gguf *g;
            hybrid_error error;
            file_log file;
            char *lines = at;
            if (way == 0) {
                memset(&source, 0, sizeof source);
                source.path = path;
            }
            if (way == 2) source = reader_source(&file, content, size);
            if (hybrid_gguf_open(NULL, &source, &g, &error)) {
                CHECK(false, "%s: %s", path, error.message);
                continue;
            }
            expect_dump(g, name, &lines);
            CHECK(lines == end, "%s: lines are left", name);
            if (way == 1) {
                sink out = { NULL, 0, 0, 0, 0 };
                hybrid_result r = write_copy(NULL, g, &out, &error);
                CHECK(!r && out.size == size && !memcmp(out.data, content, size),
                      "%s: written again it differs (%d bytes for %d)", name, (int)out.size, (int)size);
                free(out.data);
            }
            hybrid_gguf_destroy(g);
            if (way == 2) CHECK(file.closed == 1, "%s: the reader was closed %d times", name, file.closed);
        }
        if (data || strstr("types.gguf empty.gguf", name)) CHECK(content != NULL, "%s is missing", name);
        free(content);
        at = end;
    }
    free(dump);
}

/* The very numbers that make_gguf.py wrote. */
static void test_values(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size);
    hybrid_gguf *g;
    hybrid_gguf_value v, row, inner;
    hybrid_string s;
    int64_t i = 77;
    double d = 77;
    if (hybrid_gguf_open(NULL, &source, &g, NULL)) {
        CHECK(false, "types.gguf does not open");
        return;
    }
    TEST("values");
    CHECK(hybrid_gguf_get_i64(g, "one.u8", &i) && i == 200, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.i8", &i) && i == -100, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.u16", &i) && i == 60000, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.i16", &i) && i == -30000, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.u32", &i) && i == 4000000000LL, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.i32", &i) && i == -2000000000, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.bool", &i) && i == 1, "%lld", (long long)i);
    CHECK(hybrid_gguf_get_i64(g, "one.i64", &i) && i == -9000000000000000000LL, "%lld", (long long)i);
    CHECK(!hybrid_gguf_get_i64(g, "one.u64", &i) && i == -9000000000000000000LL,
          "a u64 beyond int64 must be refused and leave the default");
    CHECK(!hybrid_gguf_get_i64(g, "one.f32", &i), "no integers");
    CHECK(!hybrid_gguf_get_i64(g, "one.string", &i), "no integers");
    CHECK(!hybrid_gguf_get_i64(g, "list.u8", &i), "no integers");
    CHECK(!hybrid_gguf_get_i64(g, "absent", &i), "no integers");
    CHECK(hybrid_gguf_get_f64(g, "one.u64", &d) && d == 18000000000000000000.0, "%g", d);
    CHECK(hybrid_gguf_get_f64(g, "one.f32", &d) && d == (double)0.1f, "%g", d);
    CHECK(hybrid_gguf_get_f64(g, "one.f64", &d) && d == 0.1, "%g", d);
    CHECK(hybrid_gguf_get_f64(g, "one.i8", &d) && d == -100, "%g", d);
    CHECK(!hybrid_gguf_get_f64(g, "one.string", &d) && !hybrid_gguf_get_f64(g, "list.f32", &d), "no numbers");
    CHECK(hybrid_gguf_get_string(g, "one.string", &s), "%.*s", (int)s.size, s.data);
    CHECK(s.size == 8, "%.*s", (int)s.size, s.data);
    CHECK(!memcmp(s.data,
                  "gr\xC3\xBC\xC3\x9F"
                  "e\n",
                  8),
          "%.*s", (int)s.size, s.data);
    CHECK(hybrid_gguf_get_string(g, "one.empty", &s) && s.size == 0, "%d", (int)s.size);
    CHECK(!hybrid_gguf_get_string(g, "one.u8", &s) && !hybrid_gguf_get_string(g, "list.string", &s), "no strings");

    CHECK(hybrid_gguf_find(g, "list.i16", &v), "list.i16");
    CHECK(hybrid_gguf_item_i64(&v, 0) == -32768, "list.i16");
    CHECK(hybrid_gguf_item_i64(&v, 1) == 32767, "list.i16");
    CHECK(hybrid_gguf_item_i64(&v, 2) == 0, "list.i16");
    CHECK(hybrid_gguf_find(g, "list.u64", &v), "list.u64");
    CHECK(hybrid_gguf_item_i64(&v, 1) == 0, "list.u64");
    CHECK(hybrid_gguf_item_f64(&v, 1) == 18446744073709551615.0, "list.u64");
    CHECK(hybrid_gguf_find(g, "list.f64", &v), "list.f64");
    CHECK(hybrid_gguf_item_f64(&v, 0) == 1e-300, "list.f64");
    CHECK(hybrid_gguf_item_f64(&v, 1) == -1e300, "list.f64");
    CHECK(hybrid_gguf_item_i64(&v, 0) == 0, "list.f64");
    CHECK(hybrid_gguf_find(g, "list.bool", &v), "list.bool");
    CHECK(hybrid_gguf_item_i64(&v, 1) == 0, "list.bool");
    CHECK(hybrid_gguf_item_i64(&v, 3) == 1, "list.bool");
    CHECK(hybrid_gguf_find(g, "list.string", &v), "list.string");
    CHECK(v.count == 6, "list.string");
    CHECK(hybrid_gguf_item_string(&v, 0).size == 0, "list.string");
    CHECK(hybrid_gguf_item_string(&v, 6).data == NULL, "list.string");
    s = hybrid_gguf_item_string(&v, 5);
    CHECK(s.size == 3 && !memcmp(s.data, "end", 3), "list.string[5]");
    CHECK(hybrid_gguf_find(g, "nested.string", &v), "nested.string");
    CHECK(v.count == 3, "nested.string");
    CHECK(hybrid_gguf_item_array(&v, 2, &row), "nested.string");
    CHECK(row.count == 3, "nested.string");
    s = hybrid_gguf_item_string(&row, 2);
    CHECK(s.size == 3 && !memcmp(s.data, "zzz", 3), "nested.string[2][2] is '%.*s'", (int)s.size, s.data);
    CHECK(hybrid_gguf_item_array(&v, 1, &row), "nested.string[1]");
    CHECK(row.count == 1, "nested.string[1]");
    CHECK(hybrid_gguf_item_string(&row, 0).size == 2, "nested.string[1]");
    CHECK(!hybrid_gguf_item_array(&v, 3, &row) && !hybrid_gguf_item_array(&row, 0, &inner), "no arrays there");
    CHECK(hybrid_gguf_find(g, "nested.deep", &v), "nested.deep[1][0][2]");
    CHECK(hybrid_gguf_item_array(&v, 1, &row), "nested.deep[1][0][2]");
    CHECK(hybrid_gguf_item_array(&row, 0, &inner), "nested.deep[1][0][2]");
    CHECK(inner.count == 3, "nested.deep[1][0][2]");
    CHECK(hybrid_gguf_item_i64(&inner, 2) == 6, "nested.deep[1][0][2]");
    CHECK(hybrid_gguf_item_array(&v, 0, &row), "nested.deep[0][1][1]");
    CHECK(hybrid_gguf_item_array(&row, 1, &inner), "nested.deep[0][1][1]");
    CHECK(inner.size == 8, "nested.deep[0][1][1]");
    CHECK(hybrid_gguf_item_i64(&inner, 1) == 3, "nested.deep[0][1][1]");

    TEST("finding");
    CHECK(hybrid_gguf_find_tensor(g, "q6_K") == hybrid_gguf_tensor_at(g, 5) &&
              hybrid_gguf_find_tensor(g, "q6_K")->type == HYBRID_TYPE_Q6_K,
          "q6_K");
    CHECK(!hybrid_gguf_find_tensor(g, "q6_"), "no tensors there");
    CHECK(!hybrid_gguf_find_tensor(g, ""), "no tensors there");
    CHECK(!hybrid_gguf_tensor_at(g, 7), "no tensors there");
    CHECK(!hybrid_gguf_find(g, "one", NULL), "keys");
    CHECK(hybrid_gguf_find(g, "one.u8", NULL), "keys");
    CHECK(hybrid_gguf_key(g, 30, NULL).data == NULL, "keys");
    CHECK(hybrid_gguf_find_tensor(g, "four_dim")->ne[0] == 4, "four_dim");
    CHECK(hybrid_gguf_find_tensor(g, "four_dim")->ne[2] == 1, "four_dim");
    CHECK(hybrid_gguf_find_tensor(g, "four_dim")->n_dims == 4, "four_dim");
    CHECK(hybrid_gguf_key_count(NULL) == 0, "NULL is an empty file");
    CHECK(!hybrid_gguf_find(NULL, "a", NULL), "NULL is an empty file");
    CHECK(!hybrid_gguf_find_tensor(NULL, "a"), "NULL is an empty file");
    hybrid_gguf_destroy(g);
    hybrid_gguf_destroy(NULL);

    TEST("version 2");
    {
        unsigned char *two = (unsigned char *)malloc(size);
        uint32_t crc;
        memcpy(two, file, size);
        two[4] = 2;
        CHECK(!hybrid_gguf_open(NULL, &source, &g, NULL), "version 3");
        crc = look_at_all(g);
        hybrid_gguf_destroy(g);
        source = memory_source(two, size);
        CHECK(!hybrid_gguf_open(NULL, &source, &g, NULL), "version 2 differs");
        CHECK(hybrid_gguf_version(g) == 2, "version 2 differs");
        CHECK(look_at_all(g) == crc, "version 2 differs");
        hybrid_gguf_destroy(g);
        free(two);
    }
}

/* Opens a copy of exactly that size, so that a sanitizer sees every byte too far. Ways: memory, reader. */
static hybrid_result open_and_look(const unsigned char *file, size_t size, hybrid_error *error)
{
    unsigned char *copy = (unsigned char *)calloc(1, size ? size : 1);
    hybrid_source source = memory_source(copy, size);
    hybrid_gguf *g;
    file_log log;
    hybrid_error other;
    hybrid_result r, by_reader;
    memcpy(copy, file, size);
    if (!(r = hybrid_gguf_open(NULL, &source, &g, error))) {
        look_at_all(g);
        hybrid_gguf_destroy(g);
    } else
        CHECK(g == NULL && error->result == r && error->message[0] &&
                  strlen(error->message) < sizeof error->message - 1,
              "a failure without a whole sentence: %s", error->message);
    source = reader_source(&log, copy, size);
    if (!(by_reader = hybrid_gguf_open(NULL, &source, &g, &other))) {
        look_at_all(g);
        hybrid_gguf_destroy(g);
    }
    CHECK(by_reader == r, "memory: %d %s, reader: %d %s, closed %d", r, r ? error->message : "", by_reader,
          by_reader ? other.message : "", log.closed);
    CHECK(log.closed == 1, "memory: %d %s, reader: %d %s, closed %d", r, r ? error->message : "", by_reader,
          by_reader ? other.message : "", log.closed);
    CHECK((!r || (other.offset == error->offset && !strcmp(other.message, error->message))),
          "memory: %d %s, reader: %d %s, closed %d", r, r ? error->message : "", by_reader,
          by_reader ? other.message : "", log.closed);
    free(copy);
    return r;
}

static void test_damage(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size);
    unsigned char *copy = (unsigned char *)malloc(size);
    hybrid_gguf *g;
    hybrid_error error;
    hybrid_result r;
    uint64_t end = 0, start = size;
    size_t i, opened = 0;
    if (hybrid_gguf_open(NULL, &source, &g, NULL)) {
        CHECK(false, "types.gguf does not open");
        free(copy);
        return;
    }
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        end = HYB_MAX(end, t->offset + t->size);
        start = HYB_MIN(start, t->offset);
    }
    hybrid_gguf_destroy(g);
    TEST("truncated");
    for (i = 0; i <= size; i++) {
        r = open_and_look(file, i, &error);
        CHECK(r == (i < end ? HYBRID_ERROR_FORMAT : HYBRID_OK), "%d of %d bytes: %d %s", (int)i, (int)size, r,
              r ? error.message : "");
        if (i >= 24 && r)
            CHECK(strstr(error.message, "truncated") && strstr(error.message, "again") && error.offset <= i,
                  "%d bytes: %s (at %d)", (int)i, error.message, (int)error.offset);
    }
    TEST("flipped bits");
    for (i = 0; i < start * 8; i++) {
        memcpy(copy, file, size);
        copy[i / 8] ^= (unsigned char)(1 << i % 8);
        opened += !open_and_look(copy, size, &error);
    }
    CHECK(opened > start && opened < start * 8, "%d of %d files with a flipped bit opened", (int)opened,
          (int)start * 8);
    free(copy);
}

/* A file that must be refused, with a code and a word of the sentence (NULL: it must open). */
static void refuse(const bytes *b, hybrid_result expected, const char *word, const char *what)
{
    memory_log log;
    hybrid_runtime *rt = runtime_of(&log);
    hybrid_source source = memory_source(b->data, b->size);
    hybrid_gguf *g;
    hybrid_error error;
    hybrid_result r;
    log.peak = log.bytes;
    r = hybrid_gguf_open(rt, &source, &g, &error);
    CHECK(r == expected && (!r || strstr(error.message, word)), "%s: %d %s", what, r, r ? error.message : "opened");
    CHECK(log.peak - log.bytes <= 4096 + 40 * b->size, "%s: %d bytes were allocated for a file of %d", what,
          (int)(log.peak - log.bytes), (int)b->size);
    hybrid_gguf_destroy(g);
    hybrid_runtime_destroy(rt);
    CHECK(log.alive == 0, "%s: %ld blocks leak", what, log.alive);
    open_and_look(b->data, b->size, &error);
}

enum { UNKNOWN_TYPE = 21 }; /* IQ3_S: it has a name, and hybrid cannot read it */

/* It opens; but what it holds cannot be written. */
static void cannot_be_copied(const bytes *b)
{
    hybrid_source source = memory_source(b->data, b->size);
    hybrid_gguf *g;
    hybrid_error error;
    sink out = { NULL, 0, 0, 0, 0 };
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "%s", error.message);
    CHECK(write_copy(NULL, g, &out, &error) == HYBRID_ERROR_INVALID, "an unknown type was written");
    CHECK(strstr(error.message, "type"), "%s", error.message);
    free(out.data);
    hybrid_gguf_destroy(g);
}

static void test_hostile(void)
{
    static bytes b;
    uint32_t i;
    static const struct {
        const char *start, *word;
    } others[] = {
        { "version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull" },
        { "<!DOCTYPE html><html>", "web page" },
        { "lmgg\1\0\0\0", "before GGUF" },
        { "PK\3\4aaaaaaaaaaaaaa", "PyTorch" },
        { "\10\20\30\1\1\1\1\1{\"a\":1}", "safetensors" },
        { "hello, world! hello!", "first bytes" },
        { "GG", "first bytes" },
    };
    TEST("no GGUF");
    for (i = 0; i < HYB_COUNT(others); i++) {
        b.size = 0;
        put(&b, others[i].start, strlen(others[i].start));
        refuse(&b, HYBRID_ERROR_FORMAT, others[i].word, others[i].start);
    }
    b.size = 0;
    refuse(&b, HYBRID_ERROR_FORMAT, "empty", "empty file");
    TEST("versions");
    put_header(&b, 0x03000000, 0, 0);
    refuse(&b, HYBRID_ERROR_UNSUPPORTED, "big-endian", "big-endian");
    put_header(&b, 1, 0, 0);
    refuse(&b, HYBRID_ERROR_UNSUPPORTED, "version 1", "version 1");
    put_header(&b, 4, 0, 0);
    refuse(&b, HYBRID_ERROR_UNSUPPORTED, "version 4", "version 4");
    put_header(&b, 0, 0, 0);
    refuse(&b, HYBRID_ERROR_UNSUPPORTED, "version 0", "version 0");
    put_header(&b, 3, 0, 0);
    refuse(&b, HYBRID_OK, NULL, "nothing in it");
    put_header(&b, 2, 0, 0);
    refuse(&b, HYBRID_OK, NULL, "nothing in it, version 2");

    TEST("counts");
    put_header(&b, 3, UINT64_MAX, 0);
    refuse(&b, HYBRID_ERROR_LIMIT, "tensors", "2^64 tensors");
    put_header(&b, 3, 0, UINT64_MAX);
    refuse(&b, HYBRID_ERROR_LIMIT, "keys", "2^64 keys");
    put_header(&b, 3, 65536, 0);
    refuse(&b, HYBRID_ERROR_FORMAT, "fit", "65536 tensors in 24 bytes");
    put_header(&b, 3, 0, 65536);
    refuse(&b, HYBRID_ERROR_FORMAT, "fit", "65536 keys in 24 bytes");
    put_header(&b, 3, 0, 1);
    put_u64(&b, UINT64_MAX);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_LIMIT, "name of key 0", "a name of 2^64 bytes");
    put_header(&b, 3, 0, 1);
    put_u64(&b, 65535);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "key 0", "a name of 65535 bytes");
    put_header(&b, 3, 0, 1);
    put_text(&b, "k");
    put_u32(&b, 8);
    put_u64(&b, UINT64_MAX);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "'k'", "a string of 2^64 bytes");
    put_header(&b, 3, 0, 1);
    put_text(&b, "k");
    put_u32(&b, 13);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "not the type", "type 13");
    put_header(&b, 3, 0, 1);
    put_text(&b, "k");
    put_u32(&b, 9);
    put_u32(&b, 13);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "not the type", "item type 13");
    for (i = 0; i < 13; i++) {
        put_header(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, 9);
        put_u32(&b, i);
        put_u64(&b, (uint64_t)1 << 61);
        put_zeros(&b, 256);
        refuse(&b, HYBRID_ERROR_FORMAT, "items", "2^61 items");
        put_header(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, 9);
        put_u32(&b, i);
        put_u64(&b, UINT64_MAX);
        put_zeros(&b, 256);
        refuse(&b, HYBRID_ERROR_FORMAT, "items", "2^64 items");
        put_header(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, 9);
        put_u32(&b, i);
        put_u64(&b, 0);
        refuse(&b, HYBRID_OK, NULL, "no items");
    }
    for (i = 7; i <= 9; i++) { /* i arrays around one of bytes */
        uint32_t k;
        put_header(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, 9);
        for (k = 0; k < i; k++) {
            put_u32(&b, 9);
            put_u64(&b, 1);
        }
        put_u32(&b, 0);
        put_u64(&b, 1);
        put_zeros(&b, 1);
        refuse(&b, i < HYBRID_GGUF_MAX_DEPTH ? HYBRID_OK : HYBRID_ERROR_LIMIT, "nested", "deep arrays");
    }

    TEST("tensors");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 0, 0, 0, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_OK, NULL, "no dimensions: one element");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 5, 1, 1, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "dimensions", "five dimensions");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 2, 4, 0, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_OK, NULL, "a dimension of zero");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 2, (uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "2^63", "2^64 elements");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 2, (uint64_t)1 << 31, (uint64_t)1 << 31, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "2^63 bytes", "2^62 floats");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 1, (uint64_t)1 << 40, 1, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "truncated", "4 TiB");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 1, 33, 1, 8, 0);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "blocks", "33 elements of Q8_0");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 2, 16, 2, 2, 0);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "blocks", "rows of 16 elements of Q4_0");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 1, 4, 1, 0, 8);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "alignment", "offset 8");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 1, 4, 1, 0, (uint64_t)0 - 32);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "truncated", "offset -32");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, 4, 1, 0, 0);
    put_tensor(&b, "a", 1, 4, 1, 0, 32);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "named 'a'", "two tensors of a name");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, 16, 1, 0, 0);
    put_tensor(&b, "b", 1, 4, 1, 0, 32);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "overlap", "overlap");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, 4, 1, 0, 32);
    put_tensor(&b, "b", 1, 16, 1, 0, 0);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "overlap", "overlap in the other order");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, 4, 1, 0, 0);
    put_tensor(&b, "b", 1, 4, 1, 0, 0);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "overlap", "the same place");
    put_header(&b, 3, 3, 0);
    put_tensor(&b, "a", 1, 4, 1, 0, 64);
    put_tensor(&b, "b", 1, 4, 1, 0, 0);
    put_tensor(&b, "c", 1, 8, 1, 0, 32);
    put_zeros(&b, 160);
    refuse(&b, HYBRID_OK, NULL, "another order");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 1, 32, 1, UNKNOWN_TYPE, 0);
    put_tensor(&b, "b", 1, 4, 1, 4000000000u, 0);
    put_zeros(&b, 128);
    cannot_be_copied(&b);
    refuse(&b, HYBRID_OK, NULL, "unknown types");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "a", 1, 32, 1, UNKNOWN_TYPE, 3200);
    put_zeros(&b, 128);
    refuse(&b, HYBRID_ERROR_FORMAT, "truncated", "unknown type beyond the end");
    put_header(&b, 3, 150, 0);
    for (i = 0; i < 150; i++) {
        char name[8];
        snprintf(name, sizeof name, "%u", i);
        put_tensor(&b, name, 1, 8, 1, 0, 32 * (i * 67 % 150));
    }
    put_zeros(&b, 150 * 32 + 32);
    refuse(&b, HYBRID_OK, NULL, "150 tensors in a wild order");
    b.size = 0;
    put_header(&b, 3, 150, 0);
    for (i = 0; i < 150; i++) {
        char name[8];
        snprintf(name, sizeof name, "%u", i);
        put_tensor(&b, name, 1, i == 99 ? 9 : 8, 1, 0, 32 * (i * 67 % 150));
    }
    put_zeros(&b, 150 * 32 + 32);
    refuse(&b, HYBRID_ERROR_FORMAT, "overlap", "150 tensors, one of them too long");

    TEST("keys");
    put_header(&b, 3, 0, 2);
    for (i = 0; i < 2; i++) {
        put_text(&b, "k");
        put_u32(&b, 0);
        put_zeros(&b, 1);
    }
    refuse(&b, HYBRID_ERROR_FORMAT, "named 'k'", "two keys of a name");
    for (i = 0; i < 9; i++) {
        static const struct {
            uint32_t type, alignment;
            bool good;
        } cases[] = { { 4, 0, false },  { 4, 4, false },           { 4, 12, false },
                      { 4, 33, false }, { 4, 0x80000000u, false }, { 6, 0x42000000u, false },
                      { 4, 8, true },   { 4, 64, true },           { 4, 4096, true } };
        put_header(&b, 3, 1, 1);
        put_text(&b, "general.alignment");
        put_u32(&b, cases[i].type);
        put_u32(&b, cases[i].alignment);
        put_tensor(&b, "t", 1, 4, 1, 0, 0);
        put_zeros(&b, 4096);
        refuse(&b, cases[i].good ? HYBRID_OK : HYBRID_ERROR_FORMAT, "general.alignment", "alignment");
    }
    put_header(&b, 3, 0, 2);
    put_text(&b, "split.no");
    put_u32(&b, 2);
    put(&b, "\1\0", 2);
    put_text(&b, "split.count");
    put_u32(&b, 2);
    put(&b, "\5\0", 2);
    refuse(&b, HYBRID_ERROR_NOT_FOUND, "part 2 of a model split in 5", "a split model");
    put_header(&b, 3, 0, 1);
    put_text(&b, "a\n\x1B[31m\xFFz");
    put_u32(&b, 99);
    put_zeros(&b, 8);
    refuse(&b, HYBRID_ERROR_FORMAT, "'a??[31m?z'", "a name that would paint the terminal");
}

/* ---- tensors of no elements -------------------------------------------------------------------------------------- */

/* A dimension of zero in each place, of every type; between others, at the end with and without padding, and beyond
 * what may be. */
static void test_empty_tensors(void)
{
    static bytes b;
    static const uint32_t types[] = { 0, 1, 2, 8, 12, 20, UNKNOWN_TYPE, 30, 77 };
    uint32_t i, n_dims, zero, where;
    TEST("tensors of no elements");
    for (i = 0; i < HYB_COUNT(types); i++)
        for (n_dims = 1; n_dims <= 4; n_dims++)
            for (zero = 0; zero < n_dims; zero++)
                /* its place: that of the full one, behind it, padded end, beyond, far beyond */
                for (where = 0; where < 5; where++) {
                    const uint64_t place = where == 0   ? 0
                                           : where == 1 ? 64
                                           : where == 2 ? 96
                                           : where == 3 ? 128
                                                        : (uint64_t)0 - 32;
                    hybrid_source source;
                    hybrid_gguf *g;
                    hybrid_error error;
                    file_log file;
                    int reader;
                    uint32_t d;
                    put_header(&b, 3, 2, 0);
                    put_text(&b, "empty");
                    put_u32(&b, n_dims);
                    for (d = 0; d < n_dims; d++) put_u64(&b, d == zero ? 0 : 256);
                    put_u32(&b, types[i]);
                    put_u64(&b, place);
                    put_tensor(&b, "full", 1, 17, 1, 0, 0);
                    put_zeros(&b, (32 - b.size % 32) % 32 + 68); /* 4 bytes into the last 32 */
                    memcpy(b.data + b.size - 4, "last", 4);
                    for (reader = 0; reader < 2; reader++) {
                        const hybrid_gguf_tensor *t;
                        float back[17];
                        hybrid_result r;
                        source = memory_source(b.data, b.size);
                        if (reader) source = reader_source(&file, b.data, b.size);
                        r = hybrid_gguf_open(NULL, &source, &g, &error);
                        CHECK(r == (where < 3 ? HYBRID_OK : HYBRID_ERROR_FORMAT),
                              "type %u, dimension %u of %u at place %u: %s", types[i], zero, n_dims, where,
                              r ? error.message : "opened");
                        if (r) continue;
                        t = hybrid_gguf_find_tensor(g, "empty");
                        CHECK(t && t->size == 0, "the empty one");
                        CHECK(t->ne[zero] == 0, "the empty one");
                        CHECK(t->n_dims == (int)n_dims, "the empty one");
                        CHECK(hybrid_gguf_read_tensor(g, t, back, &error) ==
                                  (t->type == HYBRID_TYPE_LAST_ ? HYBRID_ERROR_UNSUPPORTED : HYBRID_OK),
                              "%s", error.message);
                        CHECK(!hybrid_gguf_read_tensor(g, hybrid_gguf_find_tensor(g, "full"), back, &error) &&
                                  !memcmp(&back[16], "last", 4),
                              "the full one: %s", error.message);
                        hybrid_gguf_destroy(g);
                    }
                }
    /* nothing but empty ones, and no data section at all; rows that are no blocks; sizes that cannot be */
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", 2, 0, 0, 0, 0);
    put_tensor(&b, "b", 2, 32, 0, 8, 0);
    refuse(&b, HYBRID_OK, NULL, "no data section");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "a", 2, 33, 0, 8, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "blocks", "no rows of 33 elements of Q8_0");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "a", 2, (uint64_t)1 << 63, 0, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_ERROR_FORMAT, "2^63", "no rows of 2^63 elements");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "a", 2, (uint64_t)1 << 62, 0, 0, 0);
    put_zeros(&b, 64);
    refuse(&b, HYBRID_OK, NULL, "no rows of 2^62 elements");
}

/* On a machine of the other byte order everything begins with a runtime, and that says so. */
static void test_big_endian(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size);
    hybrid_model_desc model;
    hybrid_memory_plan plan;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_gguf *g = NULL;
    hybrid_gguf_writer *w = NULL;
    hybrid_error error;
    float value = 1;
    uint16_t half;
    TEST("a big-endian machine");
    memset(&model, 0, sizeof model);
    model.source.data = file;
    model.source.size = size;
    pretend_big_endian = 1;
#define REFUSED(call) \
    error.message[0] = 0; \
    CHECK(call == HYBRID_ERROR_UNSUPPORTED && strstr(error.message, "little-endian machines only"), "%s", error.message)
    REFUSED(hybrid_runtime_create(NULL, &rt, &error));
    REFUSED(hybrid_gguf_open(NULL, &source, &g, &error));
    REFUSED(hybrid_gguf_writer_create(NULL, &w, &error));
    REFUSED(hybrid_model_load(NULL, &model, &m, &error));
    REFUSED(hybrid_plan(NULL, &model, NULL, &plan, &error));
#undef REFUSED
    CHECK(!rt, "something was made");
    CHECK(!g, "something was made");
    CHECK(!w, "something was made");
    CHECK(!m, "something was made");
    CHECK(hybrid_quantize(HYBRID_TYPE_F16, &value, &half, 1, NULL, NULL) == HYBRID_ERROR_UNSUPPORTED &&
              hybrid_dequantize(HYBRID_TYPE_F16, &half, &value, 1, NULL) == HYBRID_ERROR_UNSUPPORTED,
          "blocks");
    pretend_big_endian = 0;
}

/* ---- models that were split -------------------------------------------------------------------------------------- */

/* As look_at_all, in an order that does not depend on how the file was cut. */
static uint32_t look_by_name(hybrid_gguf *g, hybrid_gguf *order)
{
    uint32_t crc = 0;
    size_t i;
    for (i = 0; i < hybrid_gguf_key_count(order); i++) {
        hybrid_gguf_value v;
        const hybrid_string key = hybrid_gguf_key(order, i, NULL);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.data);
        if (!strcmp(name, "general.alignment")) continue;
        CHECK(hybrid_gguf_find(g, name, &v), "key %s is gone", name);
        crc = value_crc(crc32_of(crc, name, strlen(name)), &v);
    }
    for (i = 0; i < hybrid_gguf_tensor_count(order); i++) {
        const hybrid_gguf_tensor *o = hybrid_gguf_tensor_at(order, i), *t;
        char name[128], *copy = (char *)malloc((size_t)o->size + 1);
        snprintf(name, sizeof name, "%.*s", (int)o->name.size, o->name.data);
        t = hybrid_gguf_find_tensor(g, name);
        CHECK(t && t->size == o->size, "tensor %s", name);
        CHECK(t->type == o->type, "tensor %s", name);
        CHECK(!memcmp(t->ne, o->ne, sizeof t->ne), "tensor %s", name);
        if (t && !hybrid_gguf_read_tensor(g, t, copy, NULL)) crc = crc32_of(crc, copy, (size_t)t->size);
        free(copy);
    }
    return crc;
}

/* The parts of a set as a list, in another order; as memory, or through readers. */
static hybrid_source list_of(const split_set *s, int turn, hybrid_source *parts, file_log *files)
{
    hybrid_source all;
    int i;
    memset(&all, 0, sizeof all);
    for (i = 0; i < s->n; i++) {
        const int k = turn < s->n ? (i + turn) % s->n : s->n - 1 - (i + turn) % s->n;
        parts[i] = files ? reader_source(&files[i], s->data[k], s->size[k]) : memory_source(s->data[k], s->size[k]);
    }
    all.parts = parts;
    all.n_parts = (size_t)s->n;
    return all;
}

static void expect_same_set(hybrid_source source, hybrid_gguf *joined, int n, uint32_t crc, const char *what)
{
    hybrid_gguf *g;
    hybrid_error error;
    size_t k, size = 0;
    if (hybrid_gguf_open(NULL, &source, &g, &error)) {
        CHECK(false, "%s, %d parts: %s", what, n, error.message);
        return;
    }
    CHECK(hybrid_gguf_part_count(g) == (size_t)n && hybrid_gguf_key_count(g) == hybrid_gguf_key_count(joined),
          "%d parts, %d keys", (int)hybrid_gguf_part_count(g), (int)hybrid_gguf_key_count(g));
    CHECK(hybrid_gguf_tensor_count(g) == hybrid_gguf_tensor_count(joined) && look_by_name(g, joined) == crc,
          "%s, %d parts: differs from the joined file", what, n);
    for (k = 0; k < (size_t)n; k++) size += (size_t)hybrid_gguf_part_size(g, k);
    CHECK(size == hybrid_gguf_file_size(g) && !hybrid_gguf_part_size(g, (size_t)n), "sizes");
    hybrid_gguf_destroy(g);
}

static void test_split(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size), parts[SPLIT_MOST];
    hybrid_gguf *joined, *g;
    hybrid_error error;
    split_set s;
    file_log files[SPLIT_MOST];
    uint32_t crc;
    int n, way, turn, i;
    TEST("split, and read as if it were not");
    if (hybrid_gguf_open(NULL, &source, &joined, &error)) {
        CHECK(false, "%s", error.message);
        return;
    }
    crc = look_by_name(joined, joined);
    for (way = 0; way < SPLIT_WAYS; way++)
        for (n = 2; n <= 7; n += n == 3 ? 4 : 1) {
            const char *prefix = split_scratch("split");
            split_make(joined, n, (split_way)way, &s);
            for (turn = 0; turn < 2 * n; turn++) {
                expect_same_set(list_of(&s, turn, parts, NULL), joined, n, crc, "in memory");
                expect_same_set(list_of(&s, turn, parts, files), joined, n, crc, "through readers");
                for (i = 0; i < n; i++)
                    CHECK(files[i].closed == 1, "reader %d was closed %d times", i, files[i].closed);
            }
            split_save(&s, prefix);
            for (i = 0; i < n; i++) {
                memset(&source, 0, sizeof source);
                source.path = split_path(prefix, i, n);
                expect_same_set(source, joined, n, crc, "by path");
                memset(&parts[i], 0, sizeof parts[i]);
                parts[i].path = i ? split_path(prefix, i, n) : parts[i].path;
            }
            split_remove(&s, prefix);
            source = list_of(&s, 1, parts, NULL);
            if (!hybrid_gguf_open(NULL, &source, &g, &error)) { /* written again it is one file, and says so */
                sink out = { NULL, 0, 0, 0, 0 };
                CHECK(!write_copy(NULL, g, &out, &error), "%s", error.message);
                if (way != SPLIT_SCATTERED)
                    CHECK(out.size == size && !memcmp(out.data, file, size),
                          "joined, it is not the file that was split");
                free(out.data);
                hybrid_gguf_destroy(g);
            }
            split_free(&s);
        }
    TEST("split by gguf-py");
    for (i = 0; i < 3; i++) {
        memset(&source, 0, sizeof source);
        source.path = split_path("tests/oracle/data/gguf/types", i, 3);
        if (hybrid_gguf_open(NULL, &source, &g, &error)) {
            CHECK(false, "%s", error.message);
            continue;
        }
        CHECK(hybrid_gguf_part_count(g) == 3, "differs from types.gguf");
        CHECK(look_by_name(g, joined) == crc, "differs from types.gguf");
        CHECK(hybrid_gguf_key_count(g) + 1 == hybrid_gguf_key_count(joined), "differs from types.gguf");
        hybrid_gguf_destroy(g);
    }
    hybrid_gguf_destroy(joined);
}

/* A part made by hand, with a key of its own and one tensor. */
static void put_part(bytes *b, int64_t no, int64_t count, int64_t in_all, const char *tensor, const char *key,
                     uint32_t value)
{
    put_header(b, 3, 1, (key ? 4 : 3));
    put_text(b, "split.no");
    put_u32(b, HYBRID_GGUF_I64);
    put_u64(b, (uint64_t)no);
    put_text(b, "split.count");
    put_u32(b, HYBRID_GGUF_I64);
    put_u64(b, (uint64_t)count);
    put_text(b, "split.tensors.count");
    put_u32(b, HYBRID_GGUF_I64);
    put_u64(b, (uint64_t)in_all);
    if (key) {
        put_text(b, key);
        put_u32(b, HYBRID_GGUF_U32);
        put_u32(b, value);
    }
    put_tensor(b, tensor, 1, 4, 1, 0, 0);
    put_zeros(b, (32 - b->size % 32) % 32 + 16);
}

static void refuse_parts(const hybrid_source *list, size_t n, hybrid_result expected, const char *word)
{
    hybrid_source source;
    hybrid_gguf *g;
    hybrid_error error;
    hybrid_result r;
    memset(&source, 0, sizeof source);
    source.parts = list;
    source.n_parts = n;
    r = hybrid_gguf_open(NULL, &source, &g, &error);
    CHECK(r == expected, "expected '%s': %d %s", word, r, r ? error.message : "opened");
    CHECK((!r || strstr(error.message, word)), "expected '%s': %d %s", word, r, r ? error.message : "opened");
    CHECK(!g == !!r, "expected '%s': %d %s", word, r, r ? error.message : "opened");
    hybrid_gguf_destroy(g);
}

static void test_bad_parts(void)
{
    static bytes a, b, c;
    hybrid_source list[4];
    file_log file;
    int i;
    TEST("parts that do not belong together");
#define PARTS(result, word) \
    list[0] = memory_source(a.data, a.size); \
    list[1] = memory_source(b.data, b.size); \
    refuse_parts(list, 2, result, word)
    put_part(&a, 0, 2, 2, "a", "x", 1);
    put_part(&b, 1, 2, 2, "b", NULL, 0);
    PARTS(HYBRID_OK, "");
    put_part(&b, 1, 2, 2, "b", "x", 1);
    PARTS(HYBRID_OK, "");
    put_part(&b, 1, 2, 2, "b", "y", 2);
    PARTS(HYBRID_OK, "");
    put_part(&b, 1, 2, 2, "b", "x", 2);
    PARTS(HYBRID_ERROR_FORMAT, "differ in key 'x'");
    put_part(&b, 1, 2, 2, "a", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "both have a tensor 'a'");
    put_part(&b, 0, 2, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "it is part 1 of 2, and so is another file");
    put_part(&b, 1, 3, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "one of 3 parts");
    put_part(&b, 1, 2, 3, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "part 2 of 2 says that there are 3 tensors");
    put_part(&b, 2, 2, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "number 2 of 2 parts");
    put_part(&b, -1, 2, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "number -1 of 2 parts");
    put_part(&b, 1, 1025, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_LIMIT, "1025 parts");
    put_part(&b, 1, 2, 2, "b", "split.no", 1);
    PARTS(HYBRID_ERROR_FORMAT, "'split.no' is there twice");
    put_part(&b, 1, 2, 2, "b", NULL, 0);
    b.size -= 20;
    PARTS(HYBRID_ERROR_FORMAT, "number 2 of the given parts: truncated");
    put_part(&a, 0, INT64_MAX, 2, "a", NULL, 0);
    PARTS(HYBRID_ERROR_LIMIT, "parts");
    put_part(&a, 0, 1, 1, "a", NULL, 0);
    put_part(&b, 1, 2, 2, "b", NULL, 0);
    PARTS(HYBRID_ERROR_FORMAT, "it is one of 2 parts, another is one of 1");
    put_part(&a, 0, 3, 3, "a", NULL, 0);
    put_part(&b, 2, 3, 3, "b", NULL, 0);
    PARTS(HYBRID_ERROR_NOT_FOUND, "part 2 of 3 is missing");
    put_part(&b, 1, 3, 3, "b", "general.name", 1);
    put_part(&c, 2, 3, 3, "c", "general.name", 2);
    list[0] = memory_source(c.data, c.size);
    list[1] = memory_source(b.data, b.size);
    list[2] = memory_source(a.data, a.size);
    refuse_parts(list, 3, HYBRID_OK, "");
    list[3] = list[0];
    refuse_parts(list, 4, HYBRID_ERROR_FORMAT, "number 4 of the given parts: it is part 3 of 3");
#undef PARTS
    refuse_parts(list, 0, HYBRID_ERROR_INVALID, "empty");
    for (i = 0; i < 3; i++) { /* a source of two kinds, a list in a list, no source: readers are closed all the same */
        hybrid_source source, inner = list[2];
        hybrid_gguf *g;
        hybrid_error error;
        source = reader_source(&file, a.data, a.size);
        list[1] = source;
        if (i == 0) {
            source.parts = list;
            source.n_parts = 1;
        } else {
            memset(&source, 0, sizeof source);
            source.parts = list;
            source.n_parts = 3;
            memset(&list[0], 0, sizeof list[0]);
            if (i == 1) {
                list[0].parts = &inner;
                list[0].n_parts = 1;
            }
        }
        CHECK(hybrid_gguf_open(NULL, &source, &g, &error) == HYBRID_ERROR_INVALID, "%d: %s; closed %d times", i,
              error.message, file.closed);
        CHECK(strstr(error.message, "exactly one of"), "%d: %s; closed %d times", i, error.message, file.closed);
        CHECK(file.closed == 1, "%d: %s; closed %d times", i, error.message, file.closed);
    }
}

/* By path: what is missing is named, and so is what has a wrong name. */
static void test_part_names(const unsigned char *file, size_t size)
{
    static const char *const odd[] = { "x",
                                       "x-of-3",
                                       "x-1-of-",
                                       "x1-of-3.gguf",
                                       "x-00001-of-00004.gguf",
                                       "x-00002-of-00003.gguf",
                                       "x-99999999999-of-00003.gguf" };
    hybrid_source source = memory_source(file, size);
    hybrid_gguf *joined, *g;
    hybrid_error error;
    hybrid_result r;
    char prefix[400], path[500];
    split_set s;
    unsigned i;
    TEST("names of parts");
    if (hybrid_gguf_open(NULL, &source, &joined, &error)) {
        CHECK(false, "%s", error.message);
        return;
    }
    split_make(joined, 3, SPLIT_IN_ORDER, &s);
    snprintf(
        prefix, sizeof prefix, "%s-of-00007",
        split_scratch(
            "a-of-2-and-a-folder-with-a-name-that-is-so-long-that-no-sentence-holds-all-of-it-and-longer-and-longer"));
    split_save(&s, prefix);
    memset(&source, 0, sizeof source);
    for (i = 0; i < 3; i++) { /* each is missing once */
        char word[32];
        source.path = split_path(prefix, (int)(i + 1) % 3, 3);
        remove(split_path(prefix, (int)i, 3));
        snprintf(word, sizeof word, "-0000%u-of-00003.gguf'", i + 1);
        r = hybrid_gguf_open(NULL, &source, &g, &error);
        CHECK(r == HYBRID_ERROR_IO, "%d %s", r, error.message);
        CHECK(strstr(error.message, word), "%d %s", r, error.message);
        CHECK(strstr(error.message, "is missing"), "%d %s", r, error.message);
        split_save(&s, prefix);
    }
    rename(split_path(prefix, 2, 3), split_path(prefix, 1, 3));
    s.n = 1;
    source.path = split_path(prefix, 0, 3);
    r = hybrid_gguf_open(NULL, &source, &g, &error); /* the third under the name of the second */
    CHECK(r == HYBRID_ERROR_FORMAT && strstr(error.message, "not the part that its name says"), "%d %s", r,
          error.message);
    s.n = 3;
    split_remove(&s, prefix);
    for (i = 0; i < HYB_COUNT(odd); i++) {
        FILE *f;
        snprintf(path, sizeof path, "%s%s", split_scratch("part"), odd[i]);
        f = fopen(path, "wb");
        if (f) {
            fwrite(s.data[0], 1, s.size[0], f);
            fclose(f);
        }
        source.path = path;
        r = hybrid_gguf_open(NULL, &source, &g, &error);
        CHECK(r == (i < 4 || i == 6 ? HYBRID_ERROR_NOT_FOUND : HYBRID_ERROR_FORMAT) &&
                  strstr(error.message, "part 1 of 3"),
              "%s: %d %s", odd[i], r, error.message);
        remove(path);
    }
    for (i = 0; i < 3; i++) { /* fewer digits, and another end */
        FILE *f;
        snprintf(path, sizeof path, "%s-%u-of-3.GGUF.x", split_scratch("part"), i + 1);
        f = fopen(path, "wb");
        if (f) {
            fwrite(s.data[i], 1, s.size[i], f);
            fclose(f);
        }
    }
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "%s", error.message);
    hybrid_gguf_destroy(g);
    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s-%u-of-3.GGUF.x", split_scratch("part"), i + 1);
        remove(path);
    }
    split_free(&s);
    hybrid_gguf_destroy(joined);
}

/* Every allocation and every read fails once while a set is opened. */
static void test_failing_parts(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size), parts[SPLIT_MOST];
    hybrid_gguf *joined, *g;
    hybrid_error error;
    split_set s;
    file_log files[SPLIT_MOST];
    int way, n, i;
    TEST("a set is opened, and something fails");
    if (hybrid_gguf_open(NULL, &source, &joined, &error)) {
        CHECK(false, "%s", error.message);
        return;
    }
    split_make(joined, 3, SPLIT_SCATTERED, &s);
    split_save(&s, split_scratch("fails"));
    for (way = 0; way < 3; way++) { /* allocations with readers, allocations with a path, reads */
        hybrid_result r = HYBRID_ERROR_MEMORY;
        for (n = 1; r && n < 1000; n++) {
            memory_log log;
            hybrid_runtime *rt = runtime_of(&log);
            if (way < 2) log.fail_at = log.calls + n;
            source = list_of(&s, n % 3, parts, files);
            if (way == 1) {
                memset(&source, 0, sizeof source);
                source.path = split_path(split_scratch("fails"), n % 3, 3);
            }
            if (way == 2) files[n % 3].fail_at = 1 + n / 3;
            r = hybrid_gguf_open(rt, &source, &g, &error);
            CHECK(!r || (r == (way < 2 ? HYBRID_ERROR_MEMORY : HYBRID_ERROR_IO) && !g && error.result == r),
                  "%d fails: %d %s", n, r, error.message);
            hybrid_gguf_destroy(g);
            hybrid_runtime_destroy(rt);
            CHECK(log.alive == 0, "%d fails: %ld blocks leak", n, log.alive);
            if (way != 1)
                for (i = 0; i < 3; i++)
                    CHECK(files[i].closed == 1, "%d fails: reader %d was closed %d times", n, i, files[i].closed);
        }
        CHECK(!r && n > 3, "no end after %d", n);
    }
    split_remove(&s, split_scratch("fails"));
    split_free(&s);
    hybrid_gguf_destroy(joined);
}

/* ---- how long a file can make us work ---------------------------------------------------------------------------- */

/* Name number i of 2^13, all of which one hash of hybrid 0.1.0 sent to one place, whatever its seed: a multiplication
 * by an odd number moves no difference in the highest bit, and h ^= h >> 29 copies it to bit 34; so two words differ
 * in ways that cancel. */
static size_t steered_name(char name[208], unsigned i)
{
    int k;
    memset(name, 'a', 208);
    for (k = 0; k < 13; k++)
        if (i >> k & 1) {
            name[16 * k + 7] ^= (char)0x80;
            name[16 * k + 15] ^= (char)0x80;
            name[16 * k + 12] ^= 4;
        }
    return 208;
}

/* Name number i of a kind: steered; short; with all that differs at the end; at the beginning of a long one. */
static size_t worst_name(char *name, int kind, unsigned i)
{
    size_t n = kind == 1 ? 4 : kind == 2 ? 24 : 208;
    if (kind == 0) return steered_name(name, i);
    memset(name, kind, n);
    name[kind == 2 ? n - 3 : 0] = (char)i;
    name[kind == 2 ? n - 2 : 1] = (char)(i >> 8);
    name[kind == 2 ? n - 1 : 2] = (char)(i >> 16);
    return n;
}

static void put_sink(sink *s, const void *data, size_t n) { sink_write(s, data, n); }
static void put_sink_number(sink *s, uint64_t v, size_t n) { put_sink(s, &v, n); }

/* A file of about 2 MB of names, of keys or of tensors: these in an order that is bad for sorting, too. */
static unsigned make_worst(sink *s, int kind, bool of_keys)
{
    const unsigned head = of_keys ? 13 : 32;
    char name[208];
    const unsigned n = kind == 0 ? 8192 : (unsigned)((2 << 20) / (worst_name(name, kind, 0) + head)),
                   count = n < 65536 ? n : 65536;
    unsigned i;
    s->size = 0;
    put_sink(s, "GGUF\3\0\0\0", 8);
    put_sink_number(s, of_keys ? 0 : count, 8);
    put_sink_number(s, of_keys ? count : 0, 8);
    for (i = 0; i < count; i++) {
        size_t size = worst_name(name, kind, i);
        put_sink_number(s, size, 8);
        put_sink(s, name, size);
        if (of_keys) {
            put_sink_number(s, HYBRID_GGUF_U8, 5);
            continue;
        }
        put_sink_number(s, 1, 4);
        put_sink_number(s, 8, 8);
        put_sink_number(s, 0, 4);
        put_sink_number(s, (uint64_t)(kind == 1 ? count - 1 - i : i * (uint64_t)104729 % count) * 32, 8);
    }
    if (!of_keys)
        for (i = 0; i < count * 32 + 32; i += 32) put_sink(s, "                                ", 32);
    return count;
}

/* Opening takes steps in proportion to the file, for the worst that is known: 0.1.0 took 33 million for the steered
 * names. */
static void test_steps(void)
{
    sink s = { NULL, 0, 0, 0, 0 };
    int kind, of_keys, way;
    TEST("time that a file can choose");
    for (kind = 0; kind < 4; kind++)
        for (of_keys = 0; of_keys < 2; of_keys++)
            for (way = 0; way < 2; way++) {
                const unsigned count = make_worst(&s, kind, of_keys != 0);
                unsigned log2 = 1, i;
                hybrid_source source = memory_source(s.data, s.size);
                file_log file;
                hybrid_gguf *g;
                hybrid_error error;
                unsigned long long all;
                char name[208];
                memset(&error, 0, sizeof error);
                while (count >> log2) log2++;
                if (way) source = reader_source(&file, s.data, s.size);
                all_steps = 0;
                CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "%u names of kind %d: %s", count, kind,
                      error.message);
                all = all_steps;
                CHECK(all < (unsigned long long)count * (16 + (of_keys ? 0 : 3 * log2)), "%u %s of kind %d: %llu steps",
                      count, of_keys ? "keys" : "tensors", kind, all);
                if (!g) continue;
                if (of_keys) CHECK(hybrid_gguf_key_count(g) == count, "%u keys", (unsigned)hybrid_gguf_key_count(g));
                for (i = 0; i < 200 && i < count; i++) {
                    hybrid_string text;
                    text.data = name;
                    text.size = worst_name(name, kind, i * (count / 200));
                    all = hyb_names_find(of_keys ? &g->key_names : &g->tensor_names, text);
                    CHECK(all == i * (count / 200), "name %u of kind %d is found as %llu", i, kind, all);
                }
                CHECK(of_keys || hybrid_gguf_tensor_count(g) == count, "tensors");
                hybrid_gguf_destroy(g);
            }
    free(s.data);
}

/* A model-sized vocabulary: few reads, every failure of one is clean; a reader that lies about its size costs
 * little. */
static void test_reader(void)
{
    hybrid_gguf_writer *w;
    hybrid_gguf *g;
    hybrid_error error;
    hybrid_string *tokens = (hybrid_string *)calloc(150000, sizeof *tokens);
    char(*text)[16] = (char(*)[16])calloc(150000, 16);
    sink out = { NULL, 0, 0, 0, 0 };
    hybrid_source source;
    file_log file;
    uint64_t ne = 1000;
    float values[1000];
    int i, n;
    TEST("reader");
    for (i = 0; i < 150000; i++) {
        tokens[i].data = text[i];
        tokens[i].size = (size_t)snprintf(text[i], 16, "token %d", i);
    }
    for (i = 0; i < 1000; i++) values[i] = (float)i;
    CHECK(!hybrid_gguf_writer_create(NULL, &w, &error), "writer");
    hybrid_gguf_set_strings(w, "tokens", tokens, 150000, NULL);
    hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_F32, 1, &ne, NULL);
    CHECK(!hybrid_gguf_begin(w, sink_write, &out, &error), "%s", error.message);
    CHECK(!hybrid_gguf_write(w, values, sizeof values, &error), "%s", error.message);
    CHECK(!hybrid_gguf_end(w, &error), "%s", error.message);
    hybrid_gguf_writer_destroy(w);

    source = reader_source(&file, out.data, out.size);
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "%s", error.message);
    if (g) {
        hybrid_gguf_value v;
        const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(g, "t");
        float back[1000];
        bool same = hybrid_gguf_find(g, "tokens", &v) && v.count == 150000;
        for (i = 0; same && i < 150000; i++) {
            hybrid_string s = hybrid_gguf_item_string(&v, (uint64_t)i);
            same = s.size == tokens[i].size && !memcmp(s.data, text[i], s.size);
        }
        CHECK(same, "tokens differ");
        CHECK(file.reads <= 4, "%d reads for %d bytes of metadata", file.reads, (int)out.size);
        CHECK(t && !t->data, "tensor");
        CHECK(!hybrid_gguf_read_tensor(g, t, back, &error), "tensor");
        CHECK(!memcmp(back, values, sizeof back), "tensor");
        n = file.reads;
        hybrid_gguf_destroy(g);
        for (i = 1; i <= n; i++) {
            hybrid_result r;
            source = reader_source(&file, out.data, out.size);
            file.fail_at = i;
            r = hybrid_gguf_open(NULL, &source, &g, &error);
            if (i < n)
                CHECK(r == HYBRID_ERROR_IO && !g && file.closed == 1, "read %d fails: %d", i, r);
            else {
                CHECK(!r && hybrid_gguf_read_tensor(g, hybrid_gguf_tensor_at(g, 0), back, &error) == HYBRID_ERROR_IO,
                      "the tensor's read fails");
                CHECK(!hybrid_gguf_read_tensor(g, hybrid_gguf_tensor_at(g, 0), back, &error),
                      "and works the next time: %s", error.message);
                hybrid_gguf_destroy(g);
            }
        }
    }
    {
        static bytes b;
        memory_log log;
        hybrid_runtime *rt = runtime_of(&log);
        hybrid_result r;
        put_header(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, 8);
        put_u64(&b, (uint64_t)1 << 40);
        source = reader_source(&file, b.data, b.size);
        source.reader.size = (uint64_t)1 << 50;
        r = hybrid_gguf_open(rt, &source, &g, &error);
        CHECK(r == HYBRID_ERROR_LIMIT && log.peak < 4 << 20, "a string of a terabyte: %d, %d bytes allocated", r,
              (int)log.peak);
        hybrid_runtime_destroy(rt);
        CHECK(log.alive == 0 && file.closed == 1, "%ld blocks leak", log.alive);
    }
    free(out.data);
    free(tokens);
    free(text);
}

static void test_memory(const unsigned char *file, size_t size)
{
    long n;
    int way;
    TEST("out of memory");
    for (way = 0; way < 3; way++) { /* open from memory, open through a reader, write */
        hybrid_result r = HYBRID_ERROR_MEMORY;
        for (n = 1; r && n < 10000; n++) {
            memory_log log;
            file_log reader;
            hybrid_runtime *rt = runtime_of(&log);
            hybrid_source source = memory_source(file, size);
            hybrid_gguf *g = NULL, *plain = NULL;
            sink out = { NULL, 0, 0, 0, 0 };
            hybrid_error error;
            error.result = HYBRID_OK;
            if (way == 2) hybrid_gguf_open(NULL, &source, &plain, NULL);
            log.fail_at = log.calls + n;
            if (way == 1) source = reader_source(&reader, file, size);
            r = way < 2 ? hybrid_gguf_open(rt, &source, &g, &error) : write_copy(rt, plain, &out, &error);
            CHECK(r == HYBRID_OK || (r == HYBRID_ERROR_MEMORY && error.result == r && !g),
                  "allocation %ld fails: %d %s", n, r, error.message);
            hybrid_gguf_destroy(g);
            hybrid_gguf_destroy(plain);
            free(out.data);
            hybrid_runtime_destroy(rt);
            CHECK(log.alive == 0, "allocation %ld fails: %ld blocks leak", n, log.alive);
            if (way == 1)
                CHECK(reader.closed == 1, "allocation %ld fails: the reader was closed %d times", n, reader.closed);
        }
        CHECK(!r && n > 5, "no end after %ld allocations", n);
    }
}

/* types.gguf once more, value by value. */
static hybrid_gguf_writer *writer_of_types(hybrid_gguf *from)
{
    static const char *const texts[] = {
        "", "a", "sch\xC3\xB6n", "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", "line\nbreak", "end"
    };
    static const char *const names[] = { "one_dim", "two_dim", "four_dim", "q8_0", "q4_0", "q6_K", "bf16" };
    hybrid_gguf_writer *w;
    hybrid_gguf_value rows[3], planes[2];
    hybrid_string strings[6], x[2], y[1], z[3];
    int32_t one[] = { 1, 2, 3 }, two[] = { 4 }, three[] = { 5, 6 };
    uint64_t big = 18000000000000000000u;
    bytes *b = (bytes *)calloc(1, sizeof *b);
    size_t i;
    CHECK(!hybrid_gguf_writer_create(NULL, &w, NULL), "writer");
    hybrid_gguf_set_string(w, "general.architecture", "replaced below", NULL);
    hybrid_gguf_set_int(w, "general.alignment", HYBRID_GGUF_U32, 64, NULL);
    hybrid_gguf_set_int(w, "one.u8", HYBRID_GGUF_U8, 200, NULL);
    hybrid_gguf_set_int(w, "one.i8", HYBRID_GGUF_I8, -100, NULL);
    hybrid_gguf_set_int(w, "one.u16", HYBRID_GGUF_U16, 60000, NULL);
    hybrid_gguf_set_int(w, "one.i16", HYBRID_GGUF_I16, -30000, NULL);
    hybrid_gguf_set_int(w, "one.u32", HYBRID_GGUF_U32, 4000000000LL, NULL);
    hybrid_gguf_set_int(w, "one.i32", HYBRID_GGUF_I32, -2000000000, NULL);
    hybrid_gguf_set_float(w, "one.f32", HYBRID_GGUF_F32, 0.1, NULL);
    hybrid_gguf_set_int(w, "one.bool", HYBRID_GGUF_BOOL, 1, NULL);
    memset(rows, 0, sizeof rows);
    rows[0].type = rows[0].item_type = HYBRID_GGUF_U64;
    rows[0].count = 1;
    rows[0].data = &big;
    rows[0].size = 8;
    hybrid_gguf_set(w, "one.u64", &rows[0], NULL);
    hybrid_gguf_set_int(w, "one.i64", HYBRID_GGUF_I64, -9000000000000000000LL, NULL);
    hybrid_gguf_set_float(w, "one.f64", HYBRID_GGUF_F64, 0.1, NULL);
    hybrid_gguf_set_string(w, "one.string",
                           "gr\xC3\xBC\xC3\x9F"
                           "e\n",
                           NULL);
    hybrid_gguf_set_string(w, "one.empty", "", NULL);
    {
        static const uint8_t u8[] = { 0, 255, 7 }, flags[] = { 1, 0, 1, 1 };
        static const int8_t i8[] = { -128, 127, 0 };
        static const uint16_t u16[] = { 0, 65535 };
        static const int16_t i16[] = { -32768, 32767 };
        static const uint32_t u32[] = { 0, 4294967295u };
        static const int32_t i32[] = { INT32_MIN, INT32_MAX };
        static const float f32[] = { 1.5f, -0.25f, 3e38f };
        static const uint64_t u64[] = { 0, UINT64_MAX };
        static const int64_t i64[] = { INT64_MIN, INT64_MAX };
        static const double f64[] = { 1e-300, -1e300 };
        hybrid_gguf_set_numbers(w, "list.u8", HYBRID_GGUF_U8, u8, 3, NULL);
        hybrid_gguf_set_numbers(w, "list.i8", HYBRID_GGUF_I8, i8, 3, NULL);
        hybrid_gguf_set_numbers(w, "list.u16", HYBRID_GGUF_U16, u16, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.i16", HYBRID_GGUF_I16, i16, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.u32", HYBRID_GGUF_U32, u32, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.i32", HYBRID_GGUF_I32, i32, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.f32", HYBRID_GGUF_F32, f32, 3, NULL);
        hybrid_gguf_set_numbers(w, "list.bool", HYBRID_GGUF_BOOL, flags, 4, NULL);
        hybrid_gguf_set_numbers(w, "list.u64", HYBRID_GGUF_U64, u64, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.i64", HYBRID_GGUF_I64, i64, 2, NULL);
        hybrid_gguf_set_numbers(w, "list.f64", HYBRID_GGUF_F64, f64, 2, NULL);
    }
    for (i = 0; i < 6; i++) strings[i] = hyb_string(texts[i]);
    hybrid_gguf_set_strings(w, "list.string", strings, 6, NULL);
    memset(rows, 0, sizeof rows);
    for (i = 0; i < 3; i++) {
        rows[i].type = HYBRID_GGUF_ARRAY;
        rows[i].item_type = HYBRID_GGUF_I32;
    }
    rows[0].data = one;
    rows[0].count = 3;
    rows[0].size = 12;
    rows[1].data = two;
    rows[1].count = 1;
    rows[1].size = 4;
    rows[2].data = three;
    rows[2].count = 2;
    rows[2].size = 8;
    hybrid_gguf_set_arrays(w, "nested.i32", rows, 3, NULL);
    /* arrays of strings, and of arrays, by way of keys that are read back: here their packed bytes are made by hand */
    {
        size_t at[4];
        x[0] = hyb_string("x");
        x[1] = hyb_string("");
        y[0] = hyb_string("yy");
        z[0] = z[1] = x[1];
        z[2] = hyb_string("zzz");
        at[0] = b->size;
        for (i = 0; i < 2; i++) put_text(b, x[i].data);
        at[1] = b->size;
        for (i = 0; i < 1; i++) put_text(b, y[i].data);
        at[2] = b->size;
        for (i = 0; i < 3; i++) put_text(b, z[i].data);
        at[3] = b->size;
        for (i = 0; i < 3; i++) {
            rows[i].item_type = HYBRID_GGUF_STRING;
            rows[i].count = i == 0 ? 2 : i == 1 ? 1 : 3;
            rows[i].data = b->data + at[i];
            rows[i].size = at[i + 1] - at[i];
        }
        hybrid_gguf_set_arrays(w, "nested.string", rows, 3, NULL);
        b->size = 0;
        at[0] = b->size;
        put_u32(b, 5);
        put_u64(b, 1);
        put_u32(b, 1);
        put_u32(b, 5);
        put_u64(b, 2);
        put_u32(b, 2);
        put_u32(b, 3);
        at[1] = b->size;
        put_u32(b, 5);
        put_u64(b, 3);
        put_u32(b, 4);
        put_u32(b, 5);
        put_u32(b, 6);
        at[2] = b->size;
        memset(planes, 0, sizeof planes);
        for (i = 0; i < 2; i++) {
            planes[i].type = planes[i].item_type = HYBRID_GGUF_ARRAY;
            planes[i].count = 2 - i;
            planes[i].data = b->data + at[i];
            planes[i].size = at[i + 1] - at[i];
        }
        hybrid_gguf_set_arrays(w, "nested.deep", planes, 2, NULL);
    }
    hybrid_gguf_set_string(w, "general.architecture", "types", NULL);
    for (i = 0; i < 7; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(from, names[i]);
        hybrid_gguf_add_tensor(w, names[i], t->type, t->n_dims, t->ne, NULL);
    }
    free(b);
    return w;
}

static void test_writer(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size);
    hybrid_gguf *g;
    hybrid_gguf_writer *w;
    hybrid_error error;
    hybrid_result r = HYBRID_ERROR_IO;
    char path[512], temporary[600], *back;
    size_t i, n;
    int fail_at, calls = 0;
    memset(&error, 0, sizeof error);
    if (hybrid_gguf_open(NULL, &source, &g, NULL)) {
        CHECK(false, "types.gguf does not open");
        return;
    }

    TEST("writing value by value gives gguf-py's bytes; a callback that fails");
    for (fail_at = 1; r && fail_at < 1000; fail_at++) {
        sink out = { NULL, 0, 0, 0, 0 };
        out.fail_at = fail_at;
        w = writer_of_types(g);
        r = hybrid_gguf_begin(w, sink_write, &out, &error);
        for (i = 0; !r && i < 7; i++)
            r = hybrid_gguf_write(w, hybrid_gguf_tensor_at(g, i)->data, (size_t)hybrid_gguf_tensor_at(g, i)->size,
                                  &error);
        if (!r) r = hybrid_gguf_end(w, &error);
        if (r) {
            CHECK(r == HYBRID_ERROR_IO, "call %d fails: %d %s", fail_at, r, error.message);
            CHECK(error.result == r, "call %d fails: %d %s", fail_at, r, error.message);
            CHECK(strstr(error.message, "callback"), "call %d fails: %d %s", fail_at, r, error.message);
            calls = out.calls;
            CHECK(hybrid_gguf_write(w, "", 0, NULL) == r, "a failed writer wrote on");
            CHECK(hybrid_gguf_end(w, NULL) == r, "a failed writer wrote on");
            CHECK(out.calls == calls, "a failed writer wrote on");
        } else
            CHECK(out.size == size && !memcmp(out.data, file, size), "%d bytes, gguf-py has %d", (int)out.size,
                  (int)size);
        hybrid_gguf_writer_destroy(w);
        free(out.data);
    }
    CHECK(!r && fail_at > 50, "%d %d", r, fail_at);

    TEST("a file appears when it is complete");
    snprintf(path, sizeof path, "%s/hybrid-test-%ld.gguf", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
             (long)getpid());
    snprintf(temporary, sizeof temporary, "%s.%ld.part", path, (long)getpid());
    remove(path);
    for (n = 0; n < 3; n++) { /* given up; completed; given up over the completed one */
        w = writer_of_types(g);
        CHECK(!hybrid_gguf_begin_path(w, path, &error), "%s", error.message);
        CHECK((back = read_file(temporary, NULL)) != NULL, "no temporary file %s", temporary);
        free(back);
        for (i = 0; i < (n == 1 ? 7u : 3u); i++)
            CHECK(!hybrid_gguf_write(w, hybrid_gguf_tensor_at(g, i)->data, (size_t)hybrid_gguf_tensor_at(g, i)->size,
                                     &error),
                  "%s", error.message);
        r = hybrid_gguf_end(w, &error);
        CHECK(n == 1 ? !r : r == HYBRID_ERROR_INVALID && strstr(error.message, "'q8_0' lacks 136") != NULL,
              "end: %d %s", r, error.message);
        hybrid_gguf_writer_destroy(w);
        CHECK((back = read_file(temporary, NULL)) == NULL, "the temporary file is left");
        free(back);
        i = 0;
        back = read_file(path, &i);
        CHECK(n == 0 ? !back : back && i == size && !memcmp(back, file, size), "the file is wrong");
        free(back);
    }
    remove(path);
    w = writer_of_types(g);
    CHECK(hybrid_gguf_begin_path(w, "/nowhere/at all/x.gguf", &error) == HYBRID_ERROR_IO &&
              strstr(error.message, "/nowhere"),
          "%s", error.message);
    CHECK(!hybrid_gguf_begin_path(w, path, &error), "another path must do: %s", error.message);
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_destroy(g);
}

#if !defined(_WIN32)
/* ---- what a path may be that is written to ----------------------------------------------------------------------- */

static struct {
    hybrid_gguf *g;
    const unsigned char *file;
    size_t size;
    char folder[400];
} scene;

static const char *in_folder(const char *name)
{
    static char path[4][800];
    static int at;
    char *p = path[at++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", scene.folder, name);
    return p;
}

static void make_file(const char *path, const char *text, unsigned mode)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fputs(text, f) >= 0, "cannot make %s", path);
    CHECK(!fclose(f), "cannot make %s", path);
    CHECK(!chmod(path, (mode_t)mode), "cannot make %s", path);
}

/* Writes types.gguf, or gives up in the middle. */
static hybrid_result write_types(const char *path, bool whole, hybrid_error *error)
{
    hybrid_gguf_writer *w = writer_of_types(scene.g);
    hybrid_result r = hybrid_gguf_begin_path(w, path, error);
    size_t i;
    for (i = 0; !r && i < (whole ? 7u : 3u); i++)
        r = hybrid_gguf_write(w, hybrid_gguf_tensor_at(scene.g, i)->data,
                              (size_t)hybrid_gguf_tensor_at(scene.g, i)->size, error);
    if (!r && whole) r = hybrid_gguf_end(w, error);
    hybrid_gguf_writer_destroy(w);
    return r;
}

/* Does the file hold types.gguf (text NULL), or this text; and how many names are in the folder? */
static int holds(const char *path, const char *text)
{
    size_t n = 0, want = text ? strlen(text) : scene.size;
    char *back = read_file(path, &n);
    const int same = back && n == want && !memcmp(back, text ? text : (const char *)scene.file, n);
    free(back);
    return same;
}

static int names_in(const char *folder)
{
    DIR *d = opendir(folder);
    int n = -2; /* "." and ".." */
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

static void empty_folder(void)
{
    DIR *d = opendir(scene.folder);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) remove(in_folder(e->d_name));
    if (d) closedir(d);
}

/* Files that are there already, and links. */
static void test_output_files(void)
{
    struct stat st, other;
    hybrid_error error;
    char name[256], planted[1000];
    int way;
    TEST("output: a file keeps what it is");
    for (way = 0; way < 2; way++) { /* given up, completed */
        const char *text = way ? NULL : "old";
        make_file(in_folder("old"), "old", 0640);
        make_file(in_folder("victim"), "victim", 0600);
        CHECK(!link(in_folder("old"), in_folder("twin")), "link");
        CHECK(!symlink("deeper", in_folder("link")) && !symlink(in_folder("real"), in_folder("deeper")), "symlink");
        make_file(in_folder("real"), "old", 0604);
        CHECK(!symlink("to-be", in_folder("dangling")), "symlink");
        snprintf(planted, sizeof planted, "%s.%ld.part", in_folder("new"), (long)getpid());
        CHECK(!symlink(in_folder("victim"), planted), "symlink");

        CHECK(!write_types(in_folder("old"), way == 1, &error), "%s", error.message);
        CHECK(!stat(in_folder("old"), &st), "a hard link was cut");
        CHECK(!stat(in_folder("twin"), &other), "a hard link was cut");
        CHECK(st.st_ino == other.st_ino, "a hard link was cut");
        CHECK(st.st_nlink == 2, "a hard link was cut");
        CHECK((st.st_mode & 0777) == 0640 && holds(in_folder("twin"), text), "hard link: mode %o",
              (unsigned)st.st_mode);
        CHECK(!write_types(in_folder("link"), way == 1, &error), "%s", error.message);
        CHECK(!lstat(in_folder("link"), &st), "a link became a file");
        CHECK(S_ISLNK(st.st_mode), "a link became a file");
        CHECK(!lstat(in_folder("deeper"), &st), "a link became a file");
        CHECK(S_ISLNK(st.st_mode), "a link became a file");
        CHECK(!lstat(in_folder("real"), &st), "the target of two links");
        CHECK(S_ISREG(st.st_mode), "the target of two links");
        CHECK((st.st_mode & 0777) == 0604, "the target of two links");
        CHECK(holds(in_folder("real"), text), "the target of two links");
        CHECK(!write_types(in_folder("dangling"), way == 1, &error), "%s", error.message);
        CHECK(!lstat(in_folder("dangling"), &st) && S_ISLNK(st.st_mode), "a dangling link became a file");
        CHECK(way ? holds(in_folder("to-be"), NULL) : access(in_folder("to-be"), F_OK) != 0,
              "the target of a dangling link");
        CHECK(!write_types(in_folder("new"), way == 1, &error), "%s", error.message);
        CHECK(holds(in_folder("victim"), "victim"), "a link that lay at the temporary name was followed");
        CHECK(!lstat(planted, &st), "a link that lay at the temporary name was followed");
        CHECK(S_ISLNK(st.st_mode), "a link that lay at the temporary name was followed");
        CHECK(way ? holds(in_folder("new"), NULL) : access(in_folder("new"), F_OK) != 0, "a new file");
        memset(name, 'n', 255);
        name[255] = 0;
        CHECK(!write_types(in_folder(name), way == 1, &error), "a name of 255 letters: %s", error.message);
        CHECK(way ? holds(in_folder(name), NULL) : access(in_folder(name), F_OK) != 0, "a name of 255 letters");
        CHECK(names_in(scene.folder) == 8 + 3 * way, "%d names: something is left", names_in(scene.folder));
        empty_folder();
    }
    TEST("output: what cannot be written");
    CHECK(!symlink("loop", in_folder("loop")), "symlink");
    CHECK(!symlink(".", in_folder("here")), "symlink");
    CHECK(!symlink("no/where", in_folder("lost")), "symlink");
    CHECK(write_types(scene.folder, true, &error) == HYBRID_ERROR_IO && strstr(error.message, "is a folder"), "%s",
          error.message);
    CHECK(write_types(in_folder("here"), true, &error) == HYBRID_ERROR_IO && strstr(error.message, "is a folder"), "%s",
          error.message);
    CHECK(write_types(in_folder("loop"), true, &error) == HYBRID_ERROR_IO && strstr(error.message, "leads nowhere"),
          "%s", error.message);
    CHECK(write_types(in_folder("lost"), true, &error) == HYBRID_ERROR_IO && strstr(error.message, "cannot create"),
          "%s", error.message);
    CHECK(write_types(in_folder("new/"), true, &error) == HYBRID_ERROR_IO, "%s", error.message);
    CHECK(write_types("", true, &error) == HYBRID_ERROR_IO && error.message[0], "%s", error.message);
    CHECK(names_in(scene.folder) == 3, "%d names", names_in(scene.folder));
    empty_folder();
}

/* Devices and pipes: they stay, and get the bytes. */
static void test_output_streams(void)
{
    struct stat st;
    hybrid_error error;
    char *back = (char *)malloc(scene.size + 1);
    int fd;
    TEST("output: devices and pipes");
    if (!mknod(in_folder("null"), S_IFCHR | 0666, makedev(1, 3)) &&
        !mknod(in_folder("full"), S_IFCHR | 0666, makedev(1, 7)) && (fd = open(in_folder("null"), O_WRONLY)) >= 0) {
        close(fd);
        CHECK(!symlink("null", in_folder("link")), "symlink");
        CHECK(!write_types(in_folder("null"), true, &error), "%s", error.message);
        CHECK(!write_types(in_folder("link"), true, &error), "%s", error.message);
        CHECK(!lstat(in_folder("link"), &st), "the device became a file");
        CHECK(S_ISLNK(st.st_mode), "the device became a file");
        CHECK(!stat(in_folder("link"), &st), "the device became a file");
        CHECK(S_ISCHR(st.st_mode), "the device became a file");
        CHECK(write_types(in_folder("full"), true, &error) == HYBRID_ERROR_IO, "a device that is full: %s",
              error.message);
        CHECK(!stat(in_folder("full"), &st), "a device that is full: %s", error.message);
        CHECK(S_ISCHR(st.st_mode), "a device that is full: %s", error.message);
        CHECK(names_in(scene.folder) == 3, "%d names", names_in(scene.folder));
    } else
        printf("  devices cannot be made here: pipes only\n");
    CHECK(!mkfifo(in_folder("pipe"), 0600), "mkfifo");
    fd = open(in_folder("pipe"), O_RDONLY | O_NONBLOCK);
    CHECK(!write_types(in_folder("pipe"), true, &error), "%s", error.message);
    CHECK(read(fd, back, scene.size + 1) == (ssize_t)scene.size && !memcmp(back, scene.file, scene.size),
          "the reader of the pipe got something else");
    CHECK(!lstat(in_folder("pipe"), &st) && S_ISFIFO(st.st_mode), "the pipe became a file");
    close(fd);
    empty_folder();
    #if defined(__linux__)
    make_file(in_folder("gone"), "old", 0600); /* open, but without a name: /proc still leads to it */
    fd = open(in_folder("gone"), O_RDWR);
    if (fd >= 0 && !remove(in_folder("gone"))) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (!access(link, W_OK)) {
            CHECK(!write_types(link, true, &error), "%s", error.message);
            CHECK(read(fd, back, scene.size + 1) == (ssize_t)scene.size && !memcmp(back, scene.file, scene.size),
                  "a file without a name");
        }
        CHECK(names_in(scene.folder) == 0, "%d names", names_in(scene.folder));
        close(fd);
    }
    #endif
    free(back);
}

/* As somebody who may not do everything: how many things went wrong. */
static int write_as_nobody(void)
{
    struct stat st;
    hybrid_error error;
    int wrong = 0;
    wrong += !(write_types(in_folder("protected"), true, &error) == HYBRID_ERROR_IO &&
               strstr(error.message, "cannot be written") && holds(in_folder("protected"), "old"));
    wrong += !(!write_types(in_folder("foreign"), true, &error) && holds(in_folder("foreign"), NULL) &&
               !stat(in_folder("foreign"), &st) && st.st_uid == 0 && (st.st_mode & 0777) == 0666);
    wrong += !(write_types(in_folder("closed/file"), true, &error) == HYBRID_ERROR_IO &&
               strstr(error.message, "cannot create") && holds(in_folder("closed/file"), "old"));
    wrong += names_in(scene.folder) != 3;
    return wrong;
}

static void test_output_rights(void)
{
    hybrid_error error;
    int status = -1;
    pid_t child;
    TEST("output: rights");
    if (geteuid()) { /* less can be tried then */
        make_file(in_folder("protected"), "old", 0444);
        CHECK(write_types(in_folder("protected"), true, &error) == HYBRID_ERROR_IO &&
                  holds(in_folder("protected"), "old"),
              "a file that may not be written was replaced");
        empty_folder();
        return;
    }
    CHECK(!chmod(scene.folder, 0777), "chmod");
    make_file(in_folder("protected"), "old", 0444);
    make_file(in_folder("foreign"), "old", 0666);
    CHECK(!mkdir(in_folder("closed"), 0755), "mkdir");
    make_file(in_folder("closed/file"), "old", 0666);
    fflush(stdout);
    if ((child = fork()) == 0) _exit(setgid(65534) || setuid(65534) ? 100 : write_as_nobody());
    if (child > 0) waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d things went wrong",
          WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    remove(in_folder("closed/file"));
    empty_folder();
}

/* While another process gives the file its name again and again, a link to it is never taken for one that leads to
 * no name. */
static void test_output_race(void)
{
    hybrid_runtime *rt = NULL;
    hybrid_error error;
    pid_t child;
    int i, wrong = 0;
    TEST("output: a file that another process replaces");
    CHECK(!hybrid_runtime_create(NULL, &rt, &error), "%s", error.message);
    make_file(in_folder("file"), "old", 0600);
    CHECK(!symlink("file", in_folder("link")), "symlink");
    fflush(stdout);
    if ((child = fork()) == 0)
        for (;;) {
            const int fd = open(in_folder("other"), O_WRONLY | O_CREAT, 0600);
            close(fd);
            rename(in_folder("other"), in_folder("file"));
        }
    for (i = 0; i < 3000; i++) {
        hyb_output_look look;
        char *target = NULL;
        wrong += hyb_output_find(rt, in_folder("link"), &look, &target, &error) || look.stream;
        hyb_free(rt, target);
    }
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    CHECK(wrong == 0, "%d times of 3000", wrong);
    empty_folder();
    hybrid_runtime_destroy(rt);
}

static void test_output(const unsigned char *file, size_t size)
{
    hybrid_source source = memory_source(file, size);
    hybrid_gguf_writer *w[2];
    hybrid_error error;
    size_t i, k;
    if (hybrid_gguf_open(NULL, &source, &scene.g, &error)) {
        CHECK(false, "%s", error.message);
        return;
    }
    scene.file = file;
    scene.size = size;
    snprintf(scene.folder, sizeof scene.folder, "%s", split_scratch("output"));
    CHECK(!mkdir(scene.folder, 0700), "cannot make %s", scene.folder);
    test_output_files();
    test_output_streams();
    test_output_rights();
    TEST("output: two at a time");
    for (k = 0; k < 2; k++) {
        w[k] = writer_of_types(scene.g);
        CHECK(!hybrid_gguf_begin_path(w[k], in_folder("file"), &error), "%s", error.message);
    }
    for (i = 0; i < 7; i++)
        for (k = 0; k < 2; k++)
            CHECK(!hybrid_gguf_write(w[k], hybrid_gguf_tensor_at(scene.g, i)->data,
                                     (size_t)hybrid_gguf_tensor_at(scene.g, i)->size, &error),
                  "%s", error.message);
    for (k = 0; k < 2; k++) {
        CHECK(!hybrid_gguf_end(w[k], &error) && holds(in_folder("file"), NULL), "%s", error.message);
        hybrid_gguf_writer_destroy(w[k]);
    }
    CHECK(names_in(scene.folder) == 1, "%d names", names_in(scene.folder));
    empty_folder();
    test_output_race();
    remove(scene.folder);
    hybrid_gguf_destroy(scene.g);
}
#endif

/* Every misuse of the writer is an error, and the first is given again by begin. */
static void test_misuse(void)
{
    static const uint64_t ne[4] = { 32, 2, 1, 1 };
    hybrid_gguf_writer *w;
    hybrid_gguf_value v;
    hybrid_error error;
    sink out = { NULL, 0, 0, 0, 0 };
    unsigned char blocks[68] = { 0 };
    char name[70];
    int i;
    TEST("misuse of the writer");
    memset(&v, 0, sizeof v);
#define WRONG(call, word) \
    do { \
        hybrid_result wrong_r; \
        CHECK(!hybrid_gguf_writer_create(NULL, &w, NULL), "writer"); \
        error.message[0] = 0; \
        wrong_r = call; \
        CHECK(wrong_r == HYBRID_ERROR_INVALID && strstr(error.message, word), "%d %s", wrong_r, error.message); \
        hybrid_gguf_set_string(w, "fine", "fine", NULL); \
        error.message[0] = 0; \
        CHECK(hybrid_gguf_begin(w, sink_write, &out, &error) == wrong_r && strstr(error.message, word), "begin: %s", \
              error.message); \
        hybrid_gguf_writer_destroy(w); \
    } while (0)
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_U8, 256, &error), "256");
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_U8, -1, &error), "-1");
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_I16, 32768, &error), "32768");
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_U64, -1, &error), "-1");
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_BOOL, 2, &error), "2");
    WRONG(hybrid_gguf_set_int(w, "k", HYBRID_GGUF_F32, 1, &error), "type");
    WRONG(hybrid_gguf_set_float(w, "k", HYBRID_GGUF_U32, 1, &error), "type");
    WRONG(hybrid_gguf_set_string(w, "", "a", &error), "name");
    v.type = HYBRID_GGUF_U32;
    v.data = blocks;
    v.size = 3;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "malformed");
    v.size = 5;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "malformed");
    v.type = HYBRID_GGUF_ARRAY;
    v.item_type = HYBRID_GGUF_U16;
    v.count = 3;
    v.size = 7;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "malformed");
    v.item_type = HYBRID_GGUF_STRING;
    v.count = 3;
    v.size = 23;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "malformed");
    v.size = 25;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "malformed");
    v.data = NULL;
    WRONG(hybrid_gguf_set(w, "k", &v, &error), "no data");
    v.type = HYBRID_GGUF_U32;
    WRONG(hybrid_gguf_set_arrays(w, "k", &v, 1, &error), "not an array");
    WRONG(hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_Q8_0, 1, blocks[0] ? ne : ne + 1, &error), "blocks");
    WRONG(hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_LAST_, 1, ne, &error), "type");
    WRONG(hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_F32, 5, ne, &error), "dimensions");
    WRONG(hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_F32, -1, ne, &error), "dimensions");
    WRONG(hybrid_gguf_add_tensor(w, "", HYBRID_TYPE_F32, 1, ne, &error), "name");
    WRONG((hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_F32, 1, ne, NULL),
           hybrid_gguf_add_tensor(w, "t", HYBRID_TYPE_F32, 1, ne, &error)),
          "already");
    WRONG((hybrid_gguf_set_int(w, "general.alignment", HYBRID_GGUF_U32, 24, NULL),
           hybrid_gguf_begin(w, sink_write, &out, &error)),
          "alignment");
    WRONG((hybrid_gguf_set_int(w, "general.alignment", HYBRID_GGUF_U16, 64, NULL),
           hybrid_gguf_begin(w, sink_write, &out, &error)),
          "alignment");
#undef WRONG
    CHECK(out.calls == 0, "a refused file was written");

    TEST("replacing a key");
    CHECK(!hybrid_gguf_writer_create(NULL, &w, NULL), "writer");
    for (i = 0; i < 5; i++) {
        CHECK(!hybrid_gguf_set_int(w, "number", HYBRID_GGUF_I32, i, &error) &&
                  !hybrid_gguf_set_string(w, "text", i % 2 ? "odd" : "even, and longer", &error),
              "%s", error.message);
    }
    CHECK(!hybrid_gguf_begin(w, sink_write, &out, &error) && !hybrid_gguf_end(w, &error), "%s", error.message);
    hybrid_gguf_writer_destroy(w);
    {
        hybrid_source source = memory_source(out.data, out.size);
        hybrid_gguf *g;
        CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "the last values count");
        CHECK(hybrid_gguf_key_count(g) == 2, "the last values count");
        CHECK(hybrid_gguf_find(g, "number", &v), "the last values count");
        CHECK(hybrid_gguf_item_i64(&v, 0) == 4, "the last values count");
        CHECK(hybrid_gguf_find(g, "text", &v), "the last values count");
        CHECK(hybrid_gguf_item_string(&v, 0).size == 16, "the last values count");
        hybrid_gguf_destroy(g);
    }
    free(out.data);
    memset(&out, 0, sizeof out);

    TEST("order of calls");
    CHECK(!hybrid_gguf_writer_create(NULL, &w, NULL), "writer");
    for (i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "key %d", i);
        hybrid_gguf_set_int(w, name, HYBRID_GGUF_I32, i, NULL);
    }
    for (i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "tensor %d", i);
        hybrid_gguf_add_tensor(w, name, HYBRID_TYPE_Q8_0, 2, ne, NULL);
    }
    CHECK(hybrid_gguf_write(w, blocks, 1, &error) == HYBRID_ERROR_INVALID && strstr(error.message, "begin"), "%s",
          error.message);
    CHECK(hybrid_gguf_end(w, &error) == HYBRID_ERROR_INVALID && strstr(error.message, "begin"), "%s", error.message);
    CHECK(!hybrid_gguf_begin(w, sink_write, &out, &error), "%s", error.message);
    CHECK(hybrid_gguf_begin(w, sink_write, &out, &error) == HYBRID_ERROR_INVALID, "begun twice");
    CHECK(hybrid_gguf_set_string(w, "late", "a", &error) == HYBRID_ERROR_INVALID && strstr(error.message, "late"), "%s",
          error.message);
    CHECK(hybrid_gguf_add_tensor(w, "late", HYBRID_TYPE_Q8_0, 2, ne, &error) == HYBRID_ERROR_INVALID &&
              strstr(error.message, "late"),
          "%s", error.message);
    for (i = 0; i < 40; i++) {
        CHECK(!hybrid_gguf_write(w, blocks, 67, &error), "%s", error.message);
        CHECK(hybrid_gguf_write(w, blocks, 2, &error) == HYBRID_ERROR_INVALID &&
                  strstr(error.message, "1 bytes to come"),
              "%s", error.message);
        CHECK(!hybrid_gguf_write(w, blocks, 1, &error) && !hybrid_gguf_write(w, NULL, 0, &error), "%s", error.message);
    }
    CHECK(hybrid_gguf_write(w, blocks, 1, &error) == HYBRID_ERROR_INVALID && strstr(error.message, "complete"), "%s",
          error.message);
    CHECK(!hybrid_gguf_end(w, &error) && hybrid_gguf_end(w, &error) == HYBRID_ERROR_INVALID, "end");
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_writer_destroy(NULL);
    {
        hybrid_source source = memory_source(out.data, out.size);
        hybrid_gguf *g;
        CHECK(!hybrid_gguf_open(NULL, &source, &g, &error), "%s", error.message);
        CHECK(hybrid_gguf_tensor_count(g) == 40, "%s", error.message);
        CHECK(hybrid_gguf_key_count(g) == 40, "%s", error.message);
        CHECK(hybrid_gguf_find_tensor(g, "tensor 39") == hybrid_gguf_tensor_at(g, 39), "it reads back");
        CHECK(hybrid_gguf_find(g, "key 17", &v), "it reads back");
        CHECK(hybrid_gguf_item_i64(&v, 0) == 17, "it reads back");
        hybrid_gguf_destroy(g);
    }
    free(out.data);

    TEST("misuse of the reader");
    {
        hybrid_source none;
        hybrid_gguf *g;
        file_log file;
        memset(&none, 0, sizeof none);
        CHECK(hybrid_gguf_open(NULL, &none, &g, &error) == HYBRID_ERROR_INVALID && !g, "no source");
        CHECK(hybrid_gguf_open(NULL, NULL, &g, &error) == HYBRID_ERROR_INVALID, "NULL");
        none.path = "/nowhere/at all";
        CHECK(hybrid_gguf_open(NULL, &none, &g, &error) == HYBRID_ERROR_IO && strstr(error.message, "/nowhere"), "%s",
              error.message);
        CHECK(hybrid_gguf_open(NULL, &none, NULL, NULL) == HYBRID_ERROR_INVALID, "no gguf");
        none = reader_source(&file, "GGUF", 4);
        CHECK(hybrid_gguf_open(NULL, &none, NULL, &error) == HYBRID_ERROR_INVALID && file.closed == 1,
              "no gguf: the reader was closed %d times", file.closed);
    }
}

int main(void)
{
    size_t size = 0;
    unsigned char *file = (unsigned char *)read_file(TYPES, &size);
    TEST("types.gguf");
    CHECK(file != NULL, "%s is missing: run the tests from the folder of the Makefile", TYPES);
    if (!file) return test_end();
    test_dumps();
    test_values(file, size);
    test_damage(file, size);
    test_hostile();
    test_empty_tensors();
    test_big_endian(file, size);
    test_split(file, size);
    test_bad_parts();
    test_part_names(file, size);
    test_failing_parts(file, size);
    test_steps();
    test_reader();
    test_memory(file, size);
    test_writer(file, size);
#if !defined(_WIN32)
    test_output(file, size);
#endif
    test_misuse();
    free(file);
    return test_end();
}
