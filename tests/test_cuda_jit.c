/* What hybrid_cuda.h does before a device is needed: folders and libraries found, the choice of an architecture, the
 * cache of binaries, and NVRTC itself where one is installed. No GPU is needed. */
#define HYBRID_IMPLEMENTATION
#ifndef HYBRID_NO_SIMD
    #define HYBRID_NO_SIMD /* the processor computes nothing here, and compiles fast */
#endif
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static char folder[400]; /* an empty one, made for this run */

static void shell(const char *format, ...)
{
    char line[2000];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (system(line) == -1) printf("cannot run %s\n", line);
}

typedef struct counting {
    long blocks, calls, fail_at;
} counting;
static void *counting_alloc(void *user, size_t size)
{
    counting *c = (counting *)user;
    void *p;
    if (c->fail_at && ++c->calls >= c->fail_at) return NULL;
    if ((p = malloc(size)) != NULL) c->blocks++;
    return p;
}
static void counting_free(void *user, void *block)
{
    ((counting *)user)->blocks--;
    free(block);
}

static char said[4000];
static void listen_log(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", message);
}

static hybrid_runtime *make_runtime(counting *c)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    memset(c, 0, sizeof *c);
    desc.allocator.alloc = counting_alloc;
    desc.allocator.free = counting_free;
    desc.allocator.user = c;
    desc.logger.log = listen_log;
    desc.n_threads = 1;
    desc.device = "cpu";
    hybrid_runtime_create(&desc, &rt, NULL);
    return rt;
}

/* ---- architecture ------------------------------------------------------------------------------------------------ */

static void test_target(void)
{
    static const int cuda13[] = { 75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121 };
    static const int cuda12[] = { 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 101, 120 };
    static const int cuda11[] = { 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86 };
    static const int mixed[] = { 90, 75, 86, 80 };
    /* clang-format off */
    static const struct {
        const int *list;
        int n, cc, number;
        bool ptx;
    } cases[] = {
        { cuda13, COUNT(cuda13), 90, 90, false }, { cuda13, COUNT(cuda13), 75, 75, false },
        { cuda13, COUNT(cuda13), 121, 121, false },
        { cuda13, COUNT(cuda13), 61, 0, true },
        { cuda13, COUNT(cuda13), 70, 0, true },                  /* too old for this NVRTC */
        { cuda12, COUNT(cuda12), 61, 61, false },
        { cuda12, COUNT(cuda12), 70, 70, false },              /* the older one knows it */
        /* a later minor version */
        { cuda12, COUNT(cuda12), 121, 120, false }, { cuda12, COUNT(cuda12), 103, 100, false },
        { cuda12, COUNT(cuda12), 130, 120, true },
        { cuda12, COUNT(cuda12), 88, 86, false },             /* not 87: a Jetson */
        { cuda11, COUNT(cuda11), 89, 86, false }, { cuda11, COUNT(cuda11), 90, 86, true },
        { cuda11, COUNT(cuda11), 120, 86, true },
        /* a Jetson takes no other's binaries */
        { cuda11, COUNT(cuda11), 87, 86, true }, { cuda11, COUNT(cuda11), 72, 72, false },
        { cuda11, COUNT(cuda11), 30, 0, true }, { mixed, COUNT(mixed), 89, 86, false },
        { mixed, COUNT(mixed), 100, 90, true }, { mixed, 0, 90, 0, true }
    };
    /* clang-format on */
    static const struct {
        int version;
        const char *order;
    } drivers[] = { { 13010, "13 12 11" },
                    { 13000, "13 12 11" },
                    { 12080, "12 11 13" },
                    { 11040, "11 12 13" },
                    { 14000, "13 12 11" } };
    const char *names[5];
    char order[40];
    int i, j;
    TEST("which NVRTC first");
    for (i = 0; i < COUNT(drivers); i++) {
        hyb_nvrtc_names(drivers[i].version, names);
        for (j = 0, order[0] = 0; j < 3; j++)
            snprintf(order + strlen(order), sizeof order - strlen(order), "%s%.2s", j ? " " : "",
                     names[j] + strcspn(names[j], "1"));
        CHECK(!strcmp(order, drivers[i].order), "driver %d: %s", drivers[i].version, order);
    }
    TEST("target");
    for (i = 0; i < COUNT(cases); i++) {
        hyb_target t = hyb_target_choose(cases[i].cc, cases[i].list, cases[i].n);
        CHECK(t.number == cases[i].number, "case %d, device %d: %s_%d", i, cases[i].cc, t.ptx ? "compute" : "sm",
              t.number);
        CHECK((t.ptx == cases[i].ptx || !t.number), "case %d, device %d: %s_%d", i, cases[i].cc,
              t.ptx ? "compute" : "sm", t.number);
    }
}

/* ---- folders and libraries --------------------------------------------------------------------------------------- */

typedef struct seen {
    int n;
    char names[16][HYB_PATH_MAX];
    int stop_at;
} seen;
static bool see(void *user, const char *path)
{
    seen *s = (seen *)user;
    if (s->n < 16) snprintf(s->names[s->n], sizeof s->names[0], "%s", path);
    return ++s->n == s->stop_at;
}

static void test_folders(void)
{
    char pattern[HYB_PATH_MAX], path[HYB_PATH_MAX], want[HYB_PATH_MAX];
    seen s;
    TEST("folders");
    memset(&s, 0, sizeof s);
    shell("mkdir -p '%s/f/cuda-9.2/lib' '%s/f/cuda-12.8/lib' '%s/f/cuda-12.10/lib' '%s/f/other/lib' '%s/f/.cuda-7/lib'",
          folder, folder, folder, folder, folder);
    snprintf(pattern, sizeof pattern, "%s/f/cuda-*/lib", folder);
    CHECK(!hyb_folder_expand(pattern, see, &s), "%d", s.n);
    CHECK(s.n == 3, "%d", s.n);
    snprintf(want, sizeof want, "%s/f/cuda-12.10/lib", folder);
    CHECK(!strcmp(s.names[0], want), "newest first: %s", s.names[0]);
    snprintf(want, sizeof want, "%s/f/cuda-9.2/lib", folder);
    CHECK(!strcmp(s.names[2], want), "oldest last: %s", s.names[2]);
    s.n = 0;
    s.stop_at = 2;
    CHECK(hyb_folder_expand(pattern, see, &s), "stops when told");
    CHECK(s.n == 2, "stops when told");
    s.n = s.stop_at = 0;
    snprintf(pattern, sizeof pattern, "%s/*/cuda-12*/li*", folder);
    CHECK(!hyb_folder_expand(pattern, see, &s), "three stars: %d", s.n);
    CHECK(s.n == 2, "three stars: %d", s.n);
    s.n = 0;
    snprintf(pattern, sizeof pattern, "%s/absent-*/lib", folder);
    CHECK(!hyb_folder_expand(pattern, see, &s), "none");
    CHECK(s.n == 0, "none");
    CHECK(hyb_path_join(path, "a/b", "c"), "%s", path);
    CHECK(!strcmp(path, "a/b/c"), "%s", path);
    CHECK(hyb_path_join(path, "a/", "c"), "%s", path);
    CHECK(!strcmp(path, "a/c"), "%s", path);
    CHECK(hyb_path_join(path, "", "c"), "%s", path);
    CHECK(!strcmp(path, "/c"), "%s", path);
    memset(pattern, 'x', sizeof pattern);
    pattern[sizeof pattern - 2] = 0;
    CHECK(!hyb_path_join(path, pattern, "c"), "too long");
    hyb_path_folder(path, "/a/b/libx.so");
    CHECK(!strcmp(path, "/a/b/"), "%s", path);
    hyb_path_folder(path, "libx.so");
    CHECK(!path[0], "%s", path);
}

typedef struct found {
    int n, take, answers[8];
    hyb_library libs[8];
} found;
static bool find_answer(void *user, hyb_library *lib)
{
    found *f = (found *)user;
    int (*answer)(void) = NULL;
    if (!hyb_library_symbol(lib, "hybrid_test_answer", &answer) || f->n == 8) return false;
    hyb_library_locate(lib, "hybrid_test_answer");
    f->libs[f->n] = *lib;
    f->answers[f->n++] = answer();
    return f->n == f->take;
}

static void test_library(void)
{
    static const char *const names[] = { "libhybridtest.so.13", "libhybridtest.so.12", NULL };
    static const char *const firsts[] = { "libhybridfirst.so.13", "libhybridfirst.so.12", NULL };
    char path[HYB_PATH_MAX];
    hyb_library lib;
    found f;
    int i;
    TEST("library");
    setenv("CUDA_PATH", folder, 1);
    unsetenv("CUDA_HOME");
    unsetenv("HYBRID_CUDA_PATH");
    memset(&f, 0, sizeof f);
    f.take = 1;
    CHECK(!hyb_library_find(names, NULL, false, find_answer, &f), "there is none yet");
    shell("mkdir -p '%s/lib64' '%s/targets/x/lib' '%s/own'; cd '%s'; for i in 12 13; do echo \"int "
          "hybrid_test_answer(void) { return $i; }\" > a.c; "
          "${CC:-cc} -shared -fPIC a.c -o lib64/libhybridtest.so.$i; done; mv lib64/libhybridtest.so.13 "
          "targets/x/lib/; echo text > lib64/libhybridtest.so.13; "
          "echo 'int hybrid_test_answer(void) { return 99; }' > a.c; ${CC:-cc} -shared -fPIC a.c -o "
          "own/libhybridtest.so.12; "
          "${CC:-cc} -shared -fPIC a.c -o lib64/libhybridfirst.so.12",
          folder, folder, folder, folder);
    if (!hyb_library_find(names, NULL, false, find_answer, &f)) {
        SKIP("the compiler here makes no dynamic libraries");
        return;
    }
    snprintf(path, sizeof path, "%s/targets/x/lib/libhybridtest.so.13", folder);
    CHECK(f.answers[0] == 13, "the newest, past a file that is no library: %d %s", f.answers[0], f.libs[0].path);
    CHECK(!strcmp(f.libs[0].path, path), "the newest, past a file that is no library: %d %s", f.answers[0],
          f.libs[0].path);
    CHECK(!f.libs[0].is_override, "the newest, past a file that is no library: %d %s", f.answers[0], f.libs[0].path);
    f.n = 0;
    f.take = 2;
    CHECK(hyb_library_find(names, firsts, false, find_answer, &f), "the next one when the first is refused: %d",
          f.answers[1]);
    CHECK(f.answers[1] == 12, "the next one when the first is refused: %d", f.answers[1]);
    snprintf(path, sizeof path, "%s/lib64/libhybridfirst.so.12", folder);
    memset(&lib, 0, sizeof lib);
    CHECK((lib.handle = hyb_library_load(path, true)) != NULL, "what must come first, from the same folder");
    f.n = 0;
    f.take = 5;
    CHECK(!hyb_library_find(names, NULL, false, find_answer, &f), "no more than there are: %d", f.n);
    CHECK(f.n == 2, "no more than there are: %d", f.n);
    snprintf(path, sizeof path, "%s/own", folder);
    setenv("HYBRID_CUDA_PATH", path, 1);
    f.n = 0;
    f.take = 1;
    CHECK(hyb_library_find(names, NULL, false, find_answer, &f), "our own folder first: %d", f.answers[0]);
    CHECK(f.answers[0] == 99, "our own folder first: %d", f.answers[0]);
    CHECK(f.libs[0].is_override, "our own folder first: %d", f.answers[0]);
    CHECK(!hyb_library_find(&names[2], NULL, true, find_answer, &f), "no names");
    f.n = 0;
    f.take = 2;
    CHECK(!hyb_library_find(names, NULL, true, find_answer, &f), "and nothing else, when so told");
    CHECK(f.n == 1, "and nothing else, when so told");
    for (i = 0; i < 2; i++) {
        f.n = 0;
        f.take = 1;
        snprintf(path, sizeof path, "%s/%s", folder, i ? "stubs" : "absent");
        setenv("HYBRID_CUDA_PATH", path, 1);
        if (i) shell("cp -r '%s/own' '%s/stubs'", folder, folder);
        CHECK(!hyb_library_find(names, NULL, true, find_answer, &f),
              "never from a folder that is absent, or called stubs");
    }
    unsetenv("HYBRID_CUDA_PATH");
    unsetenv("CUDA_PATH");
    memset(&lib, 0, sizeof lib);
    CHECK((lib.handle = hyb_library_load("libm.so.6", false)) == NULL ||
              (hyb_library_locate(&lib, "cos"), strchr(lib.path, '/')),
          "a bare name's place: %s", lib.path);
}

/* ---- cache ------------------------------------------------------------------------------------------------------- */

static void fill_key(hyb_cache_key *key, const char *text)
{
    memset(key, 0, sizeof *key);
    hyb_cache_key_add(key, text, strlen(text));
}

static void test_hash(void)
{
    hyb_cache_key a, b;
    char text[64];
    int i, j, same = 0;
    TEST("hash");
    memset(text, 'x', sizeof text);
    for (i = 0; i < 64; i++) /* every bit and every length counts, in both lanes */
        for (j = 0; j < 8; j++) {
            memset(&a, 0, sizeof a);
            memset(&b, 0, sizeof b);
            hyb_cache_key_add(&a, text, sizeof text);
            text[i] ^= (char)(1 << j);
            hyb_cache_key_add(&b, text, sizeof text);
            text[i] ^= (char)(1 << j);
            same += a.a == b.a || a.b == b.b;
        }
    for (i = 0; i < 63; i++) {
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        memset(text, 0, sizeof text);
        hyb_cache_key_add(&a, text, (size_t)i);
        hyb_cache_key_add(&b, text, (size_t)i + 1);
        same += a.a == b.a || a.b == b.b;
    }
    CHECK(same == 0, "%d equal", same);
    fill_key(&a, "ab");
    hyb_cache_key_add(&a, "c", 1);
    fill_key(&b, "a");
    hyb_cache_key_add(&b, "bc", 2);
    CHECK(a.a != b.a, "where one text ends counts");
    CHECK(a.b != b.b, "where one text ends counts");
}

static bool cache_holds(hyb_cache *cache, const hyb_cache_key *key, const void *data, size_t n)
{
    void *p = NULL;
    size_t size = 0;
    bool ok;
    if (!hyb_cache_get(cache, key, &p, &size)) return false;
    ok = size == n && !memcmp(p, data, n) && ((char *)p)[n] == 0;
    CHECK(ok, "a wrong answer is worse than none: %d bytes", (int)size);
    hyb_free(cache->rt, p);
    return ok;
}

typedef struct store {
    int n_load, n_store;
    char name[64];
    unsigned char data[4096];
    size_t size;
} store;
static size_t store_load(void *user, const char *name, void *data, size_t capacity)
{
    store *s = (store *)user;
    s->n_load++;
    if (strcmp(name, s->name)) return 0;
    if (capacity >= s->size) memcpy(data, s->data, s->size);
    return s->size;
}
static void store_store(void *user, const char *name, const void *data, size_t size)
{
    store *s = (store *)user;
    s->n_store++;
    snprintf(s->name, sizeof s->name, "%s", name);
    if (size <= sizeof s->data) memcpy(s->data, data, s->size = size);
}

static void test_cache(hybrid_runtime *rt, counting *c)
{
    static const char text[] = "a small binary, not a real one";
    char path[HYB_PATH_MAX], name[HYB_CACHE_KEY_TEXT], file[HYB_PATH_MAX + HYB_CACHE_KEY_TEXT];
    unsigned char *entry, *bad;
    hybrid_kernel_cache desc;
    hyb_cache cache;
    hyb_cache_key key, other;
    size_t size = 0, i;
    long left = c->blocks, n;
    FILE *f;
    store s;
    TEST("cache");
    memset(&desc, 0, sizeof desc);
    snprintf(path, sizeof path, "%s/deep/er/cache", folder);
    desc.path = path;
    hyb_cache_create(&cache, rt, &desc);
    fill_key(&key, "one");
    fill_key(&other, "two");
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "empty");
    hyb_cache_put(&cache, &key, text, sizeof text);
    hyb_cache_put(&cache, &other, text, 5);
    CHECK(cache_holds(&cache, &key, text, sizeof text), "round trip, in a folder that was not there");
    CHECK(cache_holds(&cache, &other, text, 5), "round trip, in a folder that was not there");
    hyb_cache_put(&cache, &other, text, 9);
    CHECK(cache_holds(&cache, &other, text, 9), "replaced");
    shell("[ $(ls '%s' | wc -l) = 2 ] || touch '%s/leftover'", path, folder);
    snprintf(file, sizeof file, "%s/leftover", folder);
    CHECK(!read_file(file, NULL), "no temporary file stays");

    TEST("damage");
    hyb_cache_name(&key, name);
    snprintf(file, sizeof file, "%s/%s", path, name);
    entry = (unsigned char *)read_file(file, &size);
    CHECK(entry, "%s: %d bytes", file, (int)size);
    CHECK(size == HYB_CACHE_HEADER + sizeof text, "%s: %d bytes", file, (int)size);
    bad = (unsigned char *)malloc(size + 1);
    /* every byte changed, every length cut, one byte more, another's entry */
    for (i = 0; entry && i < 2 * size + 2; i++) {
        size_t length = i < size ? size : i <= 2 * size ? i - size : size + 1;
        memcpy(bad, entry, size);
        bad[size] = 0;
        if (i < size) bad[i] ^= (unsigned char)(1 << i % 8);
        f = fopen(file, "wb");
        if (length == size && i >= size) length--;
        fwrite(bad, 1, length, f);
        fclose(f);
        CHECK(!cache_holds(&cache, &key, text, sizeof text), "damage %d was not seen", (int)i);
    }
    hyb_cache_put(&cache, &key, text, sizeof text);
    CHECK(cache_holds(&cache, &key, text, sizeof text), "a damaged entry is replaced");
    hyb_cache_name(&other, name);
    shell("cp '%s' '%s/%s'", file, path, name);
    CHECK(!cache_holds(&cache, &other, text, sizeof text), "an entry under another's name");
    free(entry);
    free(bad);

    TEST("a pipe where an entry should be");
    shell("rm -f '%s' && mkfifo '%s'", file, file);
    alarm(20); /* who waits for a writer waits for ever */
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "no entry");
    alarm(0);
    hyb_cache_put(&cache, &key, text, sizeof text);
    CHECK(cache_holds(&cache, &key, text, sizeof text), "an entry takes its place");

    TEST("a path that is too long");
    for (i = 300; i < 700; i++) {
        char longest[700];
        memset(longest, 'a', i);
        longest[0] = '/';
        longest[i] = 0;
        desc.path = longest;
        hyb_cache_create(&cache, rt, &desc);
        CHECK(!strcmp(cache.folder, i < 400 ? longest : "") || (i >= 400 && i < 470 && !strcmp(cache.folder, longest)),
              "%d characters: another folder, of %d", (int)i, (int)strlen(cache.folder));
        setenv("HYBRID_CUDA_CACHE", longest, 1);
        desc.path = NULL;
        hyb_cache_create(&cache, rt, &desc);
        CHECK(!strcmp(cache.folder, i < 400 ? longest : "") || (i >= 400 && i < 470 && !strcmp(cache.folder, longest)),
              "%d characters of the variable: another folder, of %d", (int)i, (int)strlen(cache.folder));
    }
    unsetenv("HYBRID_CUDA_CACHE");
    desc.path = path;

    TEST("no place");
    snprintf(path, sizeof path, "/dev/null/cache");
    hyb_cache_create(&cache, rt, &desc);
    hyb_cache_put(&cache, &key, text, sizeof text);
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "a folder that cannot be: nothing, silently");
    desc.path = "";
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!cache.folder[0], "switched off");
    hyb_cache_put(&cache, &key, text, sizeof text);
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "off");
    desc.path = NULL;
    setenv("HYBRID_CUDA_CACHE", "/somewhere", 1);
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!strcmp(cache.folder, "/somewhere"), "%s", cache.folder);
    setenv("HYBRID_CUDA_CACHE", "", 1);
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!cache.folder[0], "an empty variable switches it off: %s", cache.folder);
    unsetenv("HYBRID_CUDA_CACHE");
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!strcmp(cache.folder, "/xdg/hybrid"), "%s", cache.folder);
    setenv("XDG_CACHE_HOME", "relative", 1);
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!cache.folder[0], "a relative one is not used: %s", cache.folder);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/home/x", 1);
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!strcmp(cache.folder, "/home/x/.cache/hybrid"), "%s", cache.folder);

    TEST("callbacks");
    memset(&s, 0, sizeof s);
    desc.load = store_load;
    desc.store = store_store;
    desc.user = &s;
    desc.path = path;
    hyb_cache_create(&cache, rt, &desc);
    CHECK(!cache.folder[0], "instead of the disk");
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "%d", s.n_load);
    CHECK(s.n_load == 1, "%d", s.n_load);
    hyb_cache_put(&cache, &key, text, sizeof text);
    CHECK(s.n_store == 1, "%d stored, %d loaded", s.n_store, s.n_load);
    CHECK(cache_holds(&cache, &key, text, sizeof text), "%d stored, %d loaded", s.n_store, s.n_load);
    CHECK(s.n_load == 3, "%d stored, %d loaded", s.n_store, s.n_load);
    s.data[60] ^= 1;
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "the host's entries are checked, too");
    s.data[60] ^= 1;
    s.size = 20;
    CHECK(!cache_holds(&cache, &key, text, sizeof text), "too short");

    TEST("no host memory");
    desc.load = NULL;
    desc.store = NULL;
    snprintf(path, sizeof path, "%s/deep/er/cache", folder);
    hyb_cache_create(&cache, rt, &desc);
    for (n = 1; n < 5; n++) {
        c->calls = 0;
        c->fail_at = n;
        hyb_cache_put(&cache, &key, text, sizeof text);
        c->calls = 0;
        CHECK(cache_holds(&cache, &key, text, sizeof text) == (n > 2), "two allocations: %ld", n);
        c->fail_at = 0;
    }
    CHECK(c->blocks == left, "%ld blocks left", c->blocks - left);
}

typedef struct writer {
    hyb_cache *cache;
    int wrong;
} writer;
static void *write_and_read(void *arg)
{
    writer *w = (writer *)arg;
    static const char text[5000] = "x";
    hyb_cache_key key;
    int i;
    fill_key(&key, "shared");
    for (i = 0; i < 200; i++) {
        void *p = NULL;
        size_t size = 0;
        hyb_cache_put(w->cache, &key, text, 1000 + (size_t)(i % 7) * 100);
        if (!hyb_cache_get(w->cache, &key, &p, &size))
            w->wrong++;
        else if (size < 1000 || size > 1600 || memcmp(p, text, size))
            w->wrong++;
        hyb_free(w->cache->rt, p);
    }
    return NULL;
}

static void test_writers(void)
{
    hybrid_runtime *rt = NULL;
    hybrid_kernel_cache desc;
    hyb_cache cache;
    char path[HYB_PATH_MAX];
    pthread_t threads[4];
    writer writers[4];
    int i;
    TEST("several writers");
    hybrid_runtime_create(NULL, &rt, NULL);
    memset(&desc, 0, sizeof desc);
    snprintf(path, sizeof path, "%s/writers", folder);
    desc.path = path;
    hyb_cache_create(&cache, rt, &desc);
    for (i = 0; i < 4; i++) {
        writers[i].cache = &cache;
        writers[i].wrong = 0;
        CHECK(!pthread_create(&threads[i], NULL, write_and_read, &writers[i]), "thread");
    }
    for (i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(!writers[0].wrong, "every reader found a whole entry: %d %d %d %d", writers[0].wrong, writers[1].wrong,
          writers[2].wrong, writers[3].wrong);
    CHECK(!writers[1].wrong, "every reader found a whole entry: %d %d %d %d", writers[0].wrong, writers[1].wrong,
          writers[2].wrong, writers[3].wrong);
    CHECK(!writers[2].wrong, "every reader found a whole entry: %d %d %d %d", writers[0].wrong, writers[1].wrong,
          writers[2].wrong, writers[3].wrong);
    CHECK(!writers[3].wrong, "every reader found a whole entry: %d %d %d %d", writers[0].wrong, writers[1].wrong,
          writers[2].wrong, writers[3].wrong);
    hybrid_runtime_destroy(rt);
}

/* ---- messages, NVRTC --------------------------------------------------------------------------------------------- */

static const char *const good_text[] = { "extern \"C\" __global__ void twice(float *x)\n",
                                         "{ x[threadIdx.x] *= FACTOR; }\n", NULL };
static const char *const bad_text[] = { "extern \"C\" __global__ void twice(float *x)\n{ x[threadIdx.x] = nowhere; }\n",
                                        NULL };

static void test_nvrtc(hybrid_runtime *rt, counting *c)
{
    static const hyb_cuda_module_info good = {
        "good", { good_text, NULL, NULL, NULL }, { "-DFACTOR=2.0f", NULL }, { "twice", NULL }
    };
    static const hyb_cuda_module_info bad = { "bad", { bad_text, NULL, NULL, NULL }, { NULL }, { "twice", NULL } };
    static hyb_nvrtc nvrtc;
    hybrid_error err;
    hybrid_result r;
    void *data = NULL;
    char *text, *words = NULL;
    size_t size = 0, n = 0;
    long left = c->blocks, at;
    int cc;
    TEST("nvrtc");
    r = hyb_nvrtc_open(&nvrtc, 90, 13000, false, &err);
    if (r) {
        CHECK(r == HYBRID_ERROR_NOT_FOUND, "%s", err.message);
        CHECK(strstr(err.message, "NVRTC"), "%s", err.message);
        CHECK(strstr(err.message, "pip install"), "%s", err.message);
        SKIP_PROCESSOR("%s", err.message);
        return;
    }
    CHECK(nvrtc.arch.number == 90, "%s %d.%d sm_%d", nvrtc.library.path, nvrtc.major, nvrtc.minor, nvrtc.arch.number);
    CHECK(!nvrtc.arch.ptx, "%s %d.%d sm_%d", nvrtc.library.path, nvrtc.major, nvrtc.minor, nvrtc.arch.number);
    CHECK(nvrtc.major >= 11, "%s %d.%d sm_%d", nvrtc.library.path, nvrtc.major, nvrtc.minor, nvrtc.arch.number);
    CHECK(strchr(nvrtc.library.path, '/'), "%s %d.%d sm_%d", nvrtc.library.path, nvrtc.major, nvrtc.minor,
          nvrtc.arch.number);
    text = hyb_module_text(rt, &good, &n);
    CHECK(text && n == strlen(good_text[0]) + strlen(good_text[1]), "joined");
    CHECK(strlen(text) == n, "joined");
    CHECK(!hyb_nvrtc_compile(rt, &nvrtc, &good, text, &data, &size, &words, &err), "%s", err.message);
    CHECK(size > 100, "%s", err.message);
    CHECK(!memcmp(data, "\177ELF", 4), "%s", err.message);
    hyb_free(rt, data);
    for (at = 1; at < 3; at++) {
        c->calls = 0;
        c->fail_at = at;
        r = hyb_nvrtc_compile(rt, &nvrtc, &good, text, &data, &size, &words, &err);
        c->fail_at = 0;
        CHECK((at == 1) == (r == HYBRID_ERROR_MEMORY), "allocation %ld: %d", at, r);
        hyb_free(rt, data);
    }
    hyb_free(rt, text);
    text = hyb_module_text(rt, &bad, &n);
    said[0] = 0;
    r = hyb_nvrtc_compile(rt, &nvrtc, &bad, text, &data, &size, &words, &err);
    hyb_nvrtc_log(rt, words);
    CHECK(r == HYBRID_ERROR_UNSUPPORTED, "%s", err.message);
    CHECK(!data, "%s", err.message);
    CHECK(strstr(err.message, "'bad'"), "%s", err.message);
    CHECK(strstr(err.message, "sm_90"), "%s", err.message);
    CHECK(strstr(err.message, "nowhere"), "%s", err.message);
    CHECK(strstr(said, "nvrtc: bad.cu(2)"), "the whole log: %s", said);
    CHECK(strstr(said, "1 error"), "the whole log: %s", said);
    hyb_free(rt, text);
    r = hyb_nvrtc_open(&nvrtc, 999, 13000, false, &err);
    CHECK(!r, "a GPU of tomorrow gets PTX");
    CHECK(nvrtc.arch.ptx, "a GPU of tomorrow gets PTX");
    text = hyb_module_text(rt, &good, &n);
    if (!r)
        CHECK(!hyb_nvrtc_compile(rt, &nvrtc, &good, text, &data, &size, &words, &err) &&
                  strstr((const char *)data, ".target sm_"),
              "%s", err.message);
    hyb_free(rt, data);
    hyb_free(rt, text);
    cc = 10;
    r = hyb_nvrtc_open(&nvrtc, cc, 13000, false, &err);
    CHECK(r == HYBRID_ERROR_NOT_FOUND, "a GPU of yesterday gets a sentence: %s", err.message);
    CHECK(strstr(err.message, "capability 1.0"), "a GPU of yesterday gets a sentence: %s", err.message);
    CHECK(strstr(err.message, "older"), "a GPU of yesterday gets a sentence: %s", err.message);
    CHECK(c->blocks == left, "%ld blocks left", c->blocks - left);
}

static void test_locale(void)
{
    hyb_locale kept;
    void *before, *changed = NULL;
    void *(*make)(int, const char *, void *) = NULL;
    void *self = dlopen(NULL, RTLD_LAZY), *function = self ? dlsym(self, "newlocale") : NULL;
    TEST("locale");
    memcpy(&make, &function, sizeof function);
    hyb_locale_keep(&kept);
    if (!kept.use || !make || !(changed = make(1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5, "C", NULL))) {
        SKIP("this C library has no locales of threads");
        return;
    }
    before = kept.use(NULL);
    kept.use(changed); /* as NVRTC before 12.6.2 does */
    hyb_locale_restore(&kept);
    CHECK(kept.use(NULL) == before, "put back");
    function = dlsym(self, "freelocale");
    {
        void (*end)(void *) = NULL;
        memcpy(&end, &function, sizeof function);
        if (end) end(changed);
    }
    dlclose(self);
}

int main(void)
{
    counting c;
    hybrid_runtime *rt = make_runtime(&c);
    snprintf(folder, sizeof folder, "%s/hybrid-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder)) {
        printf("cannot make a folder\n");
        return 1;
    }
    test_target();
    test_nvrtc(rt, &c);
    test_locale();
    test_folders();
    test_library();
    test_hash();
    test_cache(rt, &c);
    test_writers();
    hybrid_runtime_destroy(rt);
    CHECK(c.blocks == 0, "%ld blocks left", c.blocks);
    shell("rm -rf '%s'", folder);
    return test_end();
}
