/* Checkpoints and exports of trainers: a run that is stopped and goes on in another process has the bytes of one that
 * was not; SIGKILL at random moments (20 times, or HYBRID_KILLS); cut, flipped and foreign files; memory, disks and
 * readers that fail; exported types and values; what a failure changes: nothing. */
#if !defined(_WIN32)
    #include <dirent.h>
    #include <signal.h>
    #include <sys/resource.h>
    #include <sys/wait.h>
#endif
#include "private.h"
#ifdef _WIN32
    #include <process.h>
    #define getpid _getpid
#else
extern int kill(pid_t, int), symlink(const char *, const char *), lstat(const char *, struct stat *);
#endif

static const char gpt2[] = "tests/oracle/data/models/gpt2.gguf", llama[] = "tests/oracle/data/models/llama.gguf";
enum { N_SEQ = 2, N_CTX = 16 };

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static char scratch_of[256];
static const char *scratch(const char *name)
{
    static char path[32][512];
    static int turn;
    char *p = path[turn++ % 32];
    snprintf(p, sizeof path[0], "%s/%s", scratch_of, name);
    return p;
}

/* Files of the scratch folder that were not finished. */
static int leftovers(void)
{
    int n = 0;
#if !defined(_WIN32)
    DIR *folder = opendir(scratch_of);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) n += strstr(entry->d_name, ".part") != NULL;
    if (folder) closedir(folder);
#endif
    return n;
}

static bool write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    const bool good = f && fwrite(data, 1, size, f) == size;
    return f && !fclose(f) && good;
}

static bool same_files(const char *a, const char *b)
{
    size_t na = 0, nb = 0;
    char *pa = read_file(a, &na), *pb = read_file(b, &nb);
    const bool same = pa && pb && na == nb && !memcmp(pa, pb, na);
    free(pa);
    free(pb);
    return same;
}

typedef struct heap {
    long calls, fail_at, live;
} heap;
static void *heap_alloc(void *user, size_t size)
{
    heap *h = (heap *)user;
    void *p;
    if (++h->calls == h->fail_at || !(p = malloc(size ? size : 1))) return NULL;
    h->live++;
    return p;
}
static void heap_free(void *user, void *block)
{
    ((heap *)user)->live--;
    free(block);
}

static uint64_t n_params_of(const hybrid_model *m)
{
    hybrid_model_info info;
    hybrid_model_describe(m, &info);
    return info.n_params;
}

static char heard[4096];
static void hear(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    if (level == HYBRID_LOG_WARN) snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", message);
}

/* A trainer with its model. */
typedef struct bench {
    heap heap;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_trainer *t;
} bench;

static bool bench_open(bench *b, const char *path, const hybrid_trainer_desc *more)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_trainer_desc td;
    hybrid_error e;
    memset(b, 0, sizeof *b);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&td, 0, sizeof td);
    if (more) td = *more;
    rd.n_threads = 1;
    rd.allocator.alloc = heap_alloc;
    rd.allocator.free = heap_free;
    rd.allocator.user = &b->heap;
    rd.logger.log = hear;
    md.path = path;
    md.trainable = true;
    if (!td.n_seq) td.n_seq = N_SEQ;
    td.n_ctx = N_CTX;
    td.rate = td.rate > 0 ? td.rate : 1e-3f;
    td.decay = 0.1f;
    td.clip = 1;
    if (hybrid_runtime_create(&rd, &b->rt, &e) || hybrid_model_load(b->rt, &md, &b->model, &e)) {
        CHECK(0, "%s: %s", path, e.message);
        return false;
    }
    td.model = b->model;
    if (!hybrid_trainer_create(&td, &b->t, &e)) return true;
    CHECK(0, "%s: %s", path, e.message);
    return false;
}

static void bench_close(bench *b)
{
    hybrid_trainer_destroy(b->t);
    hybrid_model_destroy(b->model);
    hybrid_runtime_destroy(b->rt);
    CHECK(b->heap.live == 0, "%ld blocks of memory are left", b->heap.live);
}

/* What a loop keeps: all that its next batch depends on, and what it has seen. */
typedef struct loop {
    uint32_t random;
    int32_t n;
    uint64_t sum; /* of the weights and moments, when it was saved */
    double losses[200];
} loop;

static uint64_t sum_of(const hybrid_trainer *t)
{
    static const hyb_hash_key key = { 1, 2 };
    const size_t n = sizeof(float) * (size_t)t->store.n_values;
    return hyb_hash(&key, t->store.weights, n) +
           3 * hyb_hash(&key, t->store.states, sizeof(float) * (size_t)t->store.n_states) + (uint64_t)t->step;
}

static bool one_step(hybrid_trainer *t, loop *l, hybrid_error *e)
{
    static int32_t ids[2][N_SEQ * N_CTX], targets[2][N_SEQ * N_CTX];
    hybrid_train_batch batches[2];
    hybrid_train_metrics metrics;
    int b, i;
    memset(batches, 0, sizeof batches);
    for (b = 0; b < 2; b++) {
        for (i = 0; i < N_SEQ * N_CTX; i++) {
            l->random = l->random * 1664525u + 1013904223u;
            ids[b][i] = (int32_t)(l->random >> 8) % 120;
            targets[b][i] = (ids[b][i] * 7 + 1) % 120;
        }
        batches[b].ids = ids[b];
        batches[b].targets = targets[b];
        batches[b].weights = NULL;
    }
    if (hybrid_trainer_step(t, batches, &metrics, e)) return false;
    l->losses[l->n++ % 200] = metrics.loss;
    return true;
}

static bool steps(hybrid_trainer *t, loop *l, int n)
{
    hybrid_error e;
    while (n--)
        if (!one_step(t, l, &e)) {
            CHECK(0, "step %d: %s", l->n, e.message);
            return false;
        }
    return true;
}

static bool save(hybrid_trainer *t, loop *l, const char *path)
{
    hybrid_error e;
    l->sum = sum_of(t);
    if (!hybrid_trainer_set_user(t, l, sizeof *l, &e) && !hybrid_trainer_save(t, path, &e)) return true;
    CHECK(0, "%s: %s", path, e.message);
    return false;
}

static bool load(hybrid_trainer *t, loop *l, const char *path)
{
    hybrid_error e;
    size_t n = 0;
    e.message[0] = 0;
    if (hybrid_trainer_load(t, path, &e) || !hybrid_trainer_user(t, &n) || n != sizeof *l) {
        CHECK(0, "%s: %s, %d bytes of the loop", path, e.message, (int)n);
        return false;
    }
    memcpy(l, hybrid_trainer_user(t, NULL), sizeof *l);
    CHECK(l->sum == sum_of(t) && hybrid_trainer_steps(t) == l->n, "%s: is not what was saved", path);
    return true;
}

#if !defined(_WIN32)
/* A run of n steps in a process of its own, from a checkpoint, if there is one, to another. */
static void run_apart(const char *model, const char *from, const char *to, int n, const hybrid_trainer_desc *desc)
{
    pid_t child;
    int status = 1;
    fflush(stdout);
    if (!(child = fork())) {
        bench b;
        loop l = { 0 };
        check_failed = 0;
        if (bench_open(&b, model, desc) && (!from || load(b.t, &l, from)) && steps(b.t, &l, n)) save(b.t, &l, to);
        fflush(stdout);
        _exit(check_failed);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && !status, "the process ended with %d", status);
}

static void test_resume(const char *model, int n_batches, int n, const hybrid_trainer_desc *more)
{
    hybrid_trainer_desc d;
    memset(&d, 0, sizeof d);
    if (more) d = *more;
    d.n_batches = n_batches;
    TEST("resume");
    run_apart(model, NULL, scratch("straight"), 2 * n, &d);
    run_apart(model, NULL, scratch("half"), n, &d);
    run_apart(model, scratch("half"), scratch("both"), n, &d);
    CHECK(same_files(scratch("straight"), scratch("both")), "%d steps of %d batches are not twice %d", 2 * n, n_batches,
          n);
    CHECK(!same_files(scratch("straight"), scratch("half")), "nothing was learned");
    /* the checkpoint is a model, with which a run goes on as well */
    run_apart(scratch("half"), scratch("half"), scratch("both"), n, &d);
    CHECK(same_files(scratch("straight"), scratch("both")), "from the checkpoint as a model");
}

/* Every optimizer, with an average and accumulated gradients. */
static void test_resume_optimizers(void)
{
    hybrid_trainer_desc d;
    int i;
    memset(&d, 0, sizeof d);
    d.ema = 0.9f;
    for (i = 0; i < 4; i++) {
        d.optimizer = i == 0 ? HYBRID_OPTIMIZER_ADAMW : i < 3 ? HYBRID_OPTIMIZER_SGD : HYBRID_OPTIMIZER_MUON;
        d.momentum = i == 2 ? 0.9f : 0;
        d.nesterov = i == 2;
        test_resume(i % 2 ? llama : gpt2, 2, 4, &d);
    }
}

/* ---- SIGKILL ----------------------------------------------------------------------------------------------------- */

/* Trains and saves until it is killed; says after each save how many steps that holds. */
static void train_until_killed(const char *path, int say)
{
    bench b;
    loop l = { 0 };
    check_failed = 0;
    if (!bench_open(&b, gpt2, NULL)) _exit(1);
    if (!access(path, F_OK) && !load(b.t, &l, path)) _exit(1);
    for (;;) {
        int32_t n;
        if (!steps(b.t, &l, 1) || !save(b.t, &l, path)) break;
        n = l.n;
        if (write(say, &n, sizeof n) != sizeof n) break;
    }
    fflush(stdout);
    _exit(1);
}

static void test_kills(int n)
{
    const char *path = scratch("killed");
    bench b;
    loop l = { 0 };
    uint32_t random = (uint32_t)time(NULL);
    int i, n_within = 0, most_left = 0;
    int32_t last = 0, got = 0;
    TEST("SIGKILL");
    if (!bench_open(&b, gpt2, NULL)) return;
    for (i = 0; i < n; i++) {
        int ends[2], status = 0;
        pid_t child;
        struct timeval wait;
        fflush(stdout);
        if (pipe(ends) || (child = fork()) < 0) break;
        if (!child) train_until_killed(path, ends[1]);
        close(ends[1]);
        random = random * 1664525u + 1013904223u;
        wait.tv_sec = 0;
        /* some while it begins or loads, most while it trains and saves, however slow the machine is */
        if (i % 4 && read(ends[0], &got, sizeof got) == sizeof got) last = got;
        wait.tv_usec = (long)((random >> 8) % 40000);
        select(0, NULL, NULL, NULL, &wait);
        kill(child, SIGKILL);
        while (read(ends[0], &got, sizeof got) == sizeof got) last = got;
        close(ends[0]);
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "it ended by itself: %d", status);
        n_within += leftovers() > 0;
        most_left = leftovers() > most_left ? leftovers() : most_left;
        if (!last) continue;
        if (!load(b.t, &l, path)) break;
        CHECK(l.n >= last, "kill %d: the checkpoint has %d steps, but %d had been saved", i, l.n, last);
        last = l.n;
    }
    CHECK(i == n && last > 0, "%d of %d, %d steps", i, n, last);
    CHECK(most_left <= 2, "%d unfinished files lie about", most_left);
    if (last && load(b.t, &l, path) && steps(b.t, &l, 1)) save(b.t, &l, path);
    CHECK(!leftovers(), "%d unfinished files are left", leftovers());
    if (getenv("HYBRID_VERBOSE")) printf("%d kills, %d while saving, %d steps\n", n, n_within, last);
    bench_close(&b);
}

/* Which unfinished files a save takes away: those of programs that are gone, no others. */
static void test_sweep(void)
{
    static const struct {
        const char *name;
        bool gone;
    } files[] = { { "run.99999999-5.part", true },     { "run.1-5.part", false },
                  { "run.%ld-5.part", true },          { "run.99999999.part", false },
                  { "run.99999999-5.partly", false },  { "run.-5.part", false },
                  { "run.99999999-.part", true },      { "runs.99999999-5.part", false },
                  { ".hybrid.99999999-5.part", true }, { ".hybrid.%ld-5.part", false },
                  { "run.99999999-5x.part", false } };
    bench b;
    loop l = { 0 };
    size_t i;
    TEST("sweep");
    if (!bench_open(&b, gpt2, NULL)) return;
    for (i = 0; i < HYB_COUNT(files); i++) {
        char name[64];
        snprintf(name, sizeof name, files[i].name, (long)getpid());
        CHECK(write_file(scratch(name), "x", 1), "%s", name);
    }
    save(b.t, &l, scratch("run"));
    for (i = 0; i < HYB_COUNT(files); i++) {
        char name[64];
        snprintf(name, sizeof name, files[i].name, (long)getpid());
        CHECK(!access(scratch(name), F_OK) == !files[i].gone, "%s", name);
        remove(scratch(name));
    }
    bench_close(&b);
}

/* ---- files that must not be written over ------------------------------------------------------------------------- */

static void test_disks(void)
{
    const char *path = scratch("kept"), *other = scratch("other");
    bench b;
    loop l = { 0 }, old;
    hybrid_error e;
    struct rlimit limit, small;
    struct stat st;
    TEST("disks");
    if (!bench_open(&b, gpt2, NULL) || !steps(b.t, &l, 2) || !save(b.t, &l, path)) return;
    old = l;
    chmod(path, 0600);
    CHECK(!link(path, other), "link");
    steps(b.t, &l, 1);
    /* a disk that is full at the start, in the middle and in the last bytes */
    stat(path, &st);
    getrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    small = limit;
    for (small.rlim_cur = 0; small.rlim_cur < (rlim_t)st.st_size; small.rlim_cur += 1 + (rlim_t)st.st_size / 7) {
        hybrid_result r;
        setrlimit(RLIMIT_FSIZE, &small);
        r = hybrid_trainer_save(b.t, path, &e);
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK(r == HYBRID_ERROR_IO && strstr(e.message, "kept"), "%d: %s", (int)r, e.message);
    }
    small.rlim_cur = (rlim_t)st.st_size - 1;
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK(hybrid_trainer_save(b.t, path, &e) == HYBRID_ERROR_IO, "the last byte");
    CHECK(hybrid_trainer_export(b.t, scratch("none.gguf"), HYBRID_MIX_F32, &e) == HYBRID_OK, "%s", e.message);
    small.rlim_cur = 5000;
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK(hybrid_trainer_export(b.t, path, HYBRID_MIX_F32, &e) == HYBRID_ERROR_IO, "an export");
    setrlimit(RLIMIT_FSIZE, &limit);
    if (!access("/dev/full", W_OK)) {
        CHECK(hybrid_trainer_save(b.t, "/dev/full", &e) == HYBRID_ERROR_IO, "a full device");
        CHECK(hybrid_trainer_export(b.t, "/dev/full", HYBRID_MIX_F16, &e) == HYBRID_ERROR_IO, "a full device");
    }
    CHECK(hybrid_trainer_save(b.t, scratch("no folder/x"), &e) == HYBRID_ERROR_IO, "no folder");
    CHECK(hybrid_trainer_save(b.t, scratch_of, &e) == HYBRID_ERROR_IO, "a folder");
    CHECK(!leftovers() && same_files(path, other), "the old one stays");
    /* one more name of a checkpoint keeps it */
    CHECK(!symlink("kept", scratch("symbolic")), "symlink");
    save(b.t, &l, scratch("symbolic"));
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0600, "the mode is 0%o", (unsigned)st.st_mode & 0777);
    CHECK(!lstat(scratch("symbolic"), &st) && S_ISLNK(st.st_mode), "the link is one no more");
    CHECK(load(b.t, &l, path) && l.n == old.n + 1 && load(b.t, &l, other) && l.n == old.n, "%d steps", l.n);
    bench_close(&b);
}
#endif

/* ---- files that are not what was saved --------------------------------------------------------------------------- */

static void refused(hybrid_trainer *t, const char *what, const void *data, size_t size, hybrid_result want,
                    const char *words)
{
    const uint64_t before = sum_of(t);
    hybrid_source source;
    hybrid_error e;
    hybrid_result r;
    memset(&source, 0, sizeof source);
    source.data = data;
    source.size = size;
    e.message[0] = 0;
    r = hyb_checkpoint_load(t, &source, &e);
    CHECK(want ? r == want : r != HYBRID_OK, "%s: result %d", what, (int)r);
    CHECK(strstr(e.message, words) && e.message[0], "%s: \"%s\"", what, e.message);
    CHECK(sum_of(t) == before && !t->torn, "%s: something was changed", what);
}

static void test_spoilt(void)
{
    bench b;
    loop l = { 0 };
    size_t size = 0, i;
    char *data, what[64];
    uint32_t random = 1;
    TEST("spoilt");
    if (!bench_open(&b, gpt2, NULL) || !steps(b.t, &l, 3) || !save(b.t, &l, scratch("whole"))) return;
    steps(b.t, &l, 1);
    data = read_file(scratch("whole"), &size);
    for (i = 0; data && i < (getenv("HYBRID_SANITIZER") ? 300 : 600);
         i++) { /* a third in keys and names, the end, everywhere */
        size_t at;
        random = random * 1664525u + 1013904223u;
        at = i < 200 ? (random >> 8) % 6000 : i < 264 ? size - 1 - (i - 200) : (random >> 4) % size;
        data[at] = (char)(data[at] ^ 1 << i % 8);
        snprintf(what, sizeof what, "bit %d of byte %d", (int)(i % 8), (int)at);
        refused(b.t, what, data, size, HYBRID_OK, "");
        data[at] = (char)(data[at] ^ 1 << i % 8);
    }
    for (i = 0; data && i < 100; i++) {
        random = random * 1664525u + 1013904223u;
        snprintf(what, sizeof what, "cut at %d", (int)(i < 40 ? size - 1 - i : (random >> 4) % size));
        refused(b.t, what, data, i < 40 ? size - 1 - i : (random >> 4) % size, HYBRID_OK, "");
    }
    refused(b.t, "a byte more", data, size + 1, HYBRID_ERROR_FORMAT, "damaged"); /* the zero of read_file */
    refused(b.t, "nothing", data, 0, HYBRID_OK, "");
    CHECK(load(b.t, &l, scratch("whole")), "the whole one");
    free(data);
    bench_close(&b);
}

/* A copy of a file with another value of a key (INT64_MIN: without it), and a checksum that is right if it is a
 * checkpoint. */
static void rewrite(const char *from, const char *to, const char *key, int64_t value)
{
    hybrid_source source;
    hybrid_gguf *in = NULL;
    hybrid_gguf_writer *w = NULL;
    hybrid_error e;
    hybrid_gguf_value now;
    size_t i, size;
    char *data, *name;
    hyb_checksum *sum = (hyb_checksum *)calloc(1, sizeof *sum);
    memset(&source, 0, sizeof source);
    source.path = from;
    CHECK(!hybrid_gguf_open(NULL, &source, &in, &e) && !hybrid_gguf_writer_create(NULL, &w, &e), "%s", e.message);
    hybrid_gguf_copy_keys(w, in, NULL);
    if (!hybrid_gguf_find(in, key, &now) || now.type == HYBRID_GGUF_ARRAY) now.type = HYBRID_GGUF_U32;
    if (value != INT64_MIN && now.type == HYBRID_GGUF_F32)
        hybrid_gguf_set_float(w, key, now.type, (double)value, NULL);
    else if (value != INT64_MIN)
        hybrid_gguf_set_int(w, key, now.type, value, NULL);
    for (i = 0; i < hybrid_gguf_tensor_count(in); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        name = (char *)calloc(1, t->name.size + 1);
        memcpy(name, t->name.data, t->name.size);
        hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, NULL);
        free(name);
    }
    CHECK(!hybrid_gguf_begin_path(w, to, &e), "%s", e.message);
    for (i = 0; i < hybrid_gguf_tensor_count(in); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        hybrid_gguf_write(w, t->data, (size_t)t->size, NULL);
    }
    CHECK(!hybrid_gguf_end(w, &e), "%s", e.message);
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_destroy(in);
    data = read_file(to, &size);
    if (data && size > 40000 && strstr(key, "checkpoint")) { /* 16 bytes and padding at the end */
        float values[HYB_CHECKSUM_VALUES];
        for (i = 0; value == INT64_MIN && i + strlen(key) < size; i++)
            if (!memcmp(data + i, key, strlen(key))) data[i + strlen(key) - 1] = 'X';
        hyb_checksum_add(sum, data, size - 32);
        hyb_checkpoint_sum(sum, values);
        memcpy(data + size - 32, values, sizeof values);
        write_file(to, data, size);
    }
    free(data);
    free(sum);
}

static void refuses(hybrid_trainer *t, const char *path, hybrid_result want, const char *words)
{
    const uint64_t before = sum_of(t);
    hybrid_error e;
    hybrid_result r;
    e.message[0] = 0;
    r = hybrid_trainer_load(t, path, &e);
    CHECK(r == want && strstr(e.message, words), "%s: result %d, \"%s\"", path, (int)r, e.message);
    CHECK(sum_of(t) == before && !t->torn, "%s: something was changed", path);
}

#if !defined(_WIN32)
/* Every number format; one that a checkpoint brings, and one that it cannot. */
static void test_formats(void)
{
    static const hybrid_type types[] = { HYBRID_TYPE_BF16, HYBRID_TYPE_F16 };
    hybrid_trainer_desc d;
    hybrid_error e;
    bench a, b;
    loop l = { 0 };
    int i;
    memset(&d, 0, sizeof d);
    for (i = 0; i < 2; i++) {
        d.format = types[i];
        test_resume(i ? llama : gpt2, 2, 4, &d);
    }
    TEST("number formats");
    if (!bench_open(&a, gpt2, &d) || !bench_open(&b, gpt2, NULL)) return;
    a.t->format.scale = 1024;
    if (!steps(a.t, &l, 2) || hybrid_trainer_set_format(a.t, HYBRID_TYPE_BF16, &e) || !steps(a.t, &l, 1) ||
        hybrid_trainer_set_format(a.t, HYBRID_TYPE_F16, &e) || !steps(a.t, &l, 2))
        CHECK(0, "steps in fp16, bf16, fp16");
    a.t->format.scale = 512; /* as if it had been halved */
    a.t->format.n_skipped = 7;
    save(a.t, &l, scratch("fp16"));
    heard[0] = 0;
    if (load(b.t, &l, scratch("fp16"))) {
        const hyb_format *f = &b.t->format;
        CHECK(strstr(heard, "trained in fp16, and the trainer was made for fp32") && strstr(heard, "nothing is won"),
              "%s", heard);
        CHECK(f->type == HYBRID_TYPE_F16 && f->scale == 512 && f->good == 2 && f->n_skipped == 7 && f->n_changes == 2,
              "type %d, scale %g, %d good steps, %d skipped, %d changes", (int)f->type, f->scale, (int)f->good,
              (int)f->n_skipped, (int)f->n_changes);
        CHECK(steps(a.t, &l, 2), "the saved one");
        l.random = ((const loop *)hybrid_trainer_user(b.t, NULL))->random;
        CHECK(steps(b.t, &l, 2) && sum_of(a.t) == sum_of(b.t), "goes on with other bits");
        CHECK(!memcmp(&a.t->format, &b.t->format, sizeof a.t->format), "and with another format");
    }
    bench_close(&a);
    /* a checkpoint that is older than the key is one of fp32 */
    rewrite(scratch("fp16"), scratch("new"), "hybrid.checkpoint.format", INT64_MIN);
    heard[0] = 0;
    CHECK(!hybrid_trainer_load(b.t, scratch("new"), &e) && b.t->format.type == HYBRID_TYPE_F32 &&
              !b.t->format.n_changes && strstr(heard, "trained in fp32"),
          "%s: %s", e.message, heard);
    rewrite(scratch("fp16"), scratch("new"), "hybrid.checkpoint.format", 3); /* not an array */
    refuses(b.t, scratch("new"), HYBRID_ERROR_FORMAT, "not a number format");
    bench_close(&b);
}
#endif

/* Of another optimizer; without an average, or a momentum, that the trainer keeps; with one that it does not. */
static void test_other_optimizers(void)
{
    hybrid_trainer_desc d;
    bench adamw, b;
    loop l = { 0 };
    const hyb_param *p;
    hybrid_error e;
    int i;
    TEST("other optimizers");
    memset(&d, 0, sizeof d);
    if (!bench_open(&adamw, gpt2, NULL) || !steps(adamw.t, &l, 2) || !save(adamw.t, &l, scratch("adamw"))) return;
    d.optimizer = HYBRID_OPTIMIZER_MUON;
    if (bench_open(&b, gpt2, &d) && steps(b.t, &l, 1) && save(b.t, &l, scratch("muon"))) {
        refuses(b.t, scratch("adamw"), HYBRID_ERROR_INVALID, "trained by AdamW and the trainer has Muon");
        refuses(adamw.t, scratch("muon"), HYBRID_ERROR_INVALID, "trained by Muon and the trainer has AdamW");
        rewrite(scratch("muon"), scratch("new"), "hybrid.checkpoint.optimizer", 77);
        refuses(b.t, scratch("new"), HYBRID_ERROR_UNSUPPORTED, "optimizer 77");
    }
    bench_close(&b);
    d.optimizer = HYBRID_OPTIMIZER_ADAMW;
    d.ema = 0.9f;
    heard[0] = 0;
    if (bench_open(&b, gpt2, &d) && steps(b.t, &l, 1) && !hybrid_trainer_load(b.t, scratch("adamw"), &e)) {
        CHECK(strstr(heard, "trained with ema 0; the trainer goes on with 0.9"), "%s", heard);
        for (i = 0; i < b.t->store.n_params; i++) {
            p = &b.t->store.params[i];
            CHECK(!memcmp(hyb_store_state(&b.t->store, p, HYB_STATE_EMA), adamw.t->store.weights + p->at,
                          sizeof(float) * (size_t)p->n),
                  "the average of tensor %d", i);
        }
        CHECK(!hybrid_trainer_swap_ema(b.t, &e), "%s", e.message);
        CHECK(hybrid_trainer_save(b.t, scratch("new"), &e) == HYBRID_ERROR_INVALID && strstr(e.message, "swap_ema"),
              "the average was saved as weights");
        CHECK(!hybrid_trainer_load(b.t, scratch("adamw"), &e) && steps(b.t, &l, 1) && save(b.t, &l, scratch("ema")),
              "%s", e.message);
    }
    bench_close(&b);
    heard[0] = 0;
    CHECK(!hybrid_trainer_load(adamw.t, scratch("ema"), &e) && strstr(heard, "ema 0.9"), "%s", heard);
    bench_close(&adamw);
    memset(&d, 0, sizeof d);
    d.optimizer = HYBRID_OPTIMIZER_SGD;
    if (bench_open(&b, gpt2, &d) && steps(b.t, &l, 1)) save(b.t, &l, scratch("sgd"));
    bench_close(&b);
    d.momentum = 0.9f;
    if (bench_open(&b, gpt2, &d) && steps(b.t, &l, 1) && !hybrid_trainer_load(b.t, scratch("sgd"), &e))
        for (i = 0; i < b.t->store.n_states; i++)
            if (!(b.t->store.states[i] == 0)) {
                CHECK(0, "a momentum that is not zero");
                break;
            }
    bench_close(&b);
}

static void test_foreign(void)
{
    hybrid_trainer_desc d;
    bench b, other;
    loop l = { 0 }, of_other = { 0 };
    hybrid_error e;
    TEST("foreign");
    memset(&d, 0, sizeof d);
    if (!bench_open(&b, gpt2, NULL) || !steps(b.t, &l, 2) || !save(b.t, &l, scratch("own"))) return;
    refuses(b.t, scratch("missing"), HYBRID_ERROR_IO, "missing");
    refuses(b.t, scratch_of, HYBRID_ERROR_IO, "not a regular file");
    refuses(b.t, gpt2, HYBRID_ERROR_FORMAT, "no checkpoint");
    write_file(scratch("text"), "step 100\n", 9);
    refuses(b.t, scratch("text"), HYBRID_ERROR_FORMAT, "");
    rewrite(scratch("own"), scratch("new"), "hybrid.checkpoint.version", 2);
    refuses(b.t, scratch("new"), HYBRID_ERROR_UNSUPPORTED, "version 2");
    rewrite(scratch("own"), scratch("new"), "hybrid.checkpoint.step", -1);
    refuses(b.t, scratch("new"), HYBRID_ERROR_FORMAT, "steps");
    rewrite(scratch("own"), scratch("new"), "hybrid.checkpoint.step", 7);
    CHECK(!hybrid_trainer_load(b.t, scratch("new"), &e) && hybrid_trainer_steps(b.t) == 7, "%s", e.message);
    if (bench_open(&other, llama, NULL) && save(other.t, &of_other, scratch("llama")))
        refuses(b.t, scratch("llama"), HYBRID_ERROR_INVALID, "of another model");
    bench_close(&other);
    /* of the same shapes, but another model; and another vocabulary */
    rewrite(gpt2, scratch("eps.gguf"), "gpt2.attention.layer_norm_epsilon", 1);
    if (bench_open(&other, scratch("eps.gguf"), NULL) && save(other.t, &of_other, scratch("eps")))
        refuses(b.t, scratch("eps"), HYBRID_ERROR_INVALID, "gpt2.attention.layer_norm_epsilon");
    bench_close(&other);
    rewrite(gpt2, scratch("add.gguf"), "tokenizer.ggml.padding_token_id", 3);
    if (bench_open(&other, scratch("add.gguf"), NULL) && save(other.t, &of_other, scratch("add")))
        refuses(b.t, scratch("add"), HYBRID_ERROR_INVALID, "tokenizer.ggml.padding_token_id");
    bench_close(&other);
    /* other numbers are named, not refused; another cut of the batch says nothing */
    d.rate = 5e-4f;
    d.n_seq = 1;
    heard[0] = 0;
    if (bench_open(&other, gpt2, &d) && load(other.t, &l, scratch("own")))
        CHECK(strstr(heard, "rate 0.001; the trainer goes on with 0.0005") && !strstr(heard, "n_seq") &&
                  !strstr(heard, "beta1"),
              "%s", heard);
    bench_close(&other);
    bench_close(&b);
}

/* ---- memory and readers that fail -------------------------------------------------------------------------------- */

static void test_memory(void)
{
    bench b;
    loop l = { 0 };
    hybrid_error e;
    hybrid_result r = HYBRID_ERROR_MEMORY;
    uint64_t sum, user;
    long i;
    int what;
    TEST("memory");
    if (!bench_open(&b, gpt2, NULL) || !steps(b.t, &l, 2) || !save(b.t, &l, scratch("before"))) return;
    sum = sum_of(b.t);
    user = (uint64_t)l.n;
    l.n = 77;
    for (what = 0; what < 4; what++) {
        const long live = b.heap.live;
        int stride = 1;
        for (i = 1, r = HYBRID_ERROR_MEMORY; r && i < 5000; i += stride) {
            b.heap.calls = 0;
            b.heap.fail_at = i;
            r = what == 0   ? hybrid_trainer_save(b.t, scratch("before"), &e)
                : what == 1 ? hybrid_trainer_load(b.t, scratch("before"), &e)
                : what == 2 ? hybrid_trainer_export(b.t, scratch("before"), HYBRID_MIX_Q8_0, &e)
                            : hybrid_trainer_set_user(b.t, &l, sizeof l, &e);
            b.heap.fail_at = 0;
            CHECK(!r || r == HYBRID_ERROR_MEMORY, "call %d, allocation %ld: %s", what, i, e.message);
            CHECK(b.heap.live == live && sum_of(b.t) == sum && !b.t->torn, "call %d, allocation %ld: changed", what, i);
            CHECK(!r || (uint64_t)((const loop *)hybrid_trainer_user(b.t, NULL))->n == user, "call %d, %ld", what, i);
        }
        CHECK(!r, "call %d never succeeds", what);
        if (what == 2) save(b.t, &l, scratch("before")); /* it was the export by now */
        if (what == 2) hybrid_trainer_set_user(b.t, NULL, 0, NULL);
        if (what == 2) l.n = (int32_t)user, save(b.t, &l, scratch("before"));
    }
    CHECK(!leftovers(), "%d files are left", leftovers());
    bench_close(&b);
}

typedef struct worn {
    const char *data;
    int reads, fail_at;
} worn;
static bool worn_read(void *user, uint64_t offset, void *dst, size_t n)
{
    worn *w = (worn *)user;
    if (++w->reads == w->fail_at) return false;
    memcpy(dst, w->data + offset, n);
    return true;
}

/* A disk that fails at the n-th read. */
static void test_reads(void)
{
    bench b;
    loop l = { 0 };
    hybrid_source source;
    hybrid_error e;
    hybrid_result r = HYBRID_ERROR_IO;
    size_t size = 0;
    worn w = { NULL, 0, 0 };
    uint64_t sum;
    double loss;
    int n_torn = 0;
    TEST("reads");
    if (!bench_open(&b, gpt2, NULL) || !steps(b.t, &l, 2) || !save(b.t, &l, scratch("good"))) return;
    w.data = read_file(scratch("good"), &size);
    steps(b.t, &l, 1);
    sum = sum_of(b.t);
    memset(&source, 0, sizeof source);
    source.reader.user = &w;
    source.reader.size = size;
    source.reader.read_at = worn_read;
    for (w.fail_at = 1; r && w.data && w.fail_at < 1000; w.fail_at++) {
        w.reads = 0;
        r = hyb_checkpoint_load(b.t, &source, &e);
        if (!r) break;
        CHECK(r == HYBRID_ERROR_IO, "read %d: %s", w.fail_at, e.message);
        if (!b.t->torn) {
            CHECK(sum_of(b.t) == sum && !n_torn, "read %d: something was changed", w.fail_at);
            continue;
        }
        n_torn++;
        CHECK(!one_step(b.t, &l, &e) && strstr(e.message, "load one again"), "a step with half a checkpoint");
        CHECK(hybrid_trainer_save(b.t, scratch("good"), &e) == HYBRID_ERROR_INVALID &&
                  hybrid_trainer_export(b.t, scratch("x.gguf"), HYBRID_MIX_F32, &e) == HYBRID_ERROR_INVALID,
              "half a checkpoint was saved");
    }
    {
        static int32_t ids[N_SEQ * N_CTX];
        hybrid_train_batch batch = { ids, ids, NULL, 0, 0 };
        CHECK(!r && n_torn > 0 && !hybrid_trainer_evaluate(b.t, &batch, &loss, &e), "%s", e.message);
    }
    CHECK(load(b.t, &l, scratch("good")) && steps(b.t, &l, 1) && sum_of(b.t) == sum, "another step than before");
    free((void *)(uintptr_t)w.data);
    bench_close(&b);
}

/* ---- exports ----------------------------------------------------------------------------------------------------- */

/* Are the tensors of the file those of the trainer in this type? */
static void check_export(const bench *b, const char *path, hybrid_mix mix)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_error e;
    int64_t file_type = -1, version = -1;
    int i;
    memset(&source, 0, sizeof source);
    source.path = path;
    if (hybrid_gguf_open(NULL, &source, &g, &e)) {
        CHECK(0, "%s", e.message);
        return;
    }
    hybrid_gguf_get_i64(g, "general.file_type", &file_type);
    hybrid_gguf_get_i64(g, "general.quantization_version", &version);
    CHECK(file_type == (int64_t)mix && version == 2, "%s: file type %d", path, (int)file_type);
    CHECK(hybrid_gguf_tensor_count(g) == hybrid_gguf_tensor_count(b->model->gguf), "%s: tensors", path);
    for (i = 0; i < b->t->store.n_params; i++) {
        const hyb_param *p = &b->t->store.params[i];
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, hyb_names_find(&g->tensor_names, p->name));
        const size_t row = t ? (size_t)t->ne[0] : 1;
        char *want = t ? (char *)malloc((size_t)t->size + 1) : NULL;
        CHECK(t && (t->n_dims > 1 || t->type == HYBRID_TYPE_F32), "%s: a vector", path);
        if (t)
            CHECK(!hybrid_convert(NULL, HYBRID_TYPE_F32, b->t->store.weights + p->at, t->type, want, (size_t)p->n / row,
                                  row, NULL, &e) &&
                      !memcmp(want, t->data, (size_t)t->size),
                  "%s: tensor %d is not what was trained", path, i);
        free(want);
    }
    hybrid_gguf_destroy(g);
}

static hybrid_type exported_type(const char *path, const char *name)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_type type = HYBRID_TYPE_LAST_;
    memset(&source, 0, sizeof source);
    source.path = path;
    if (!hybrid_gguf_open(NULL, &source, &g, NULL) && hybrid_gguf_find_tensor(g, name))
        type = hybrid_gguf_find_tensor(g, name)->type;
    hybrid_gguf_destroy(g);
    return type;
}

static void test_exports(const char *model)
{
    static const hybrid_mix mixes[] = { HYBRID_MIX_F32,  HYBRID_MIX_F16,  HYBRID_MIX_BF16,
                                        HYBRID_MIX_Q8_0, HYBRID_MIX_Q4_0, HYBRID_MIX_Q4_K_M };
    const char *path = scratch("out.gguf");
    bench b, again;
    loop l = { 0 };
    hybrid_error e;
    float *value;
    size_t i;
    TEST("exports");
    if (!bench_open(&b, model, NULL) || !steps(b.t, &l, 3)) return;
    for (i = 0; i < HYB_COUNT(mixes); i++) {
        CHECK(!hybrid_trainer_export(b.t, path, mixes[i], &e), "%s", e.message);
        check_export(&b, path, mixes[i]);
        if (bench_open(&again, path, NULL)) /* with F32 the very same weights */
            CHECK(mixes[i] || !memcmp(again.t->store.weights, b.t->store.weights, again.model->weights.owned_bytes),
                  "weights");
        bench_close(&again);
        if (mixes[i] == HYBRID_MIX_F32) hybrid_trainer_export(b.t, scratch("f32.gguf"), mixes[i], NULL);
        if (mixes[i] == HYBRID_MIX_F16)
            CHECK(exported_type(path, "token_embd.weight") == HYBRID_TYPE_F16 &&
                      exported_type(path, "output_norm.weight") == HYBRID_TYPE_F32,
                  "F16");
        if (mixes[i] == HYBRID_MIX_Q8_0) CHECK(exported_type(path, "blk.1.ffn_up.weight") == HYBRID_TYPE_Q8_0, "Q8_0");
    }
    /* of a model that was a checkpoint: no trace of training */
    if (save(b.t, &l, scratch("as model")) && bench_open(&again, scratch("as model"), NULL)) {
        CHECK(n_params_of(again.model) == n_params_of(b.model), "the moments count as parameters");
        CHECK(!hybrid_trainer_export(again.t, path, HYBRID_MIX_F32, &e), "%s", e.message);
        CHECK(same_files(path, scratch("f32.gguf")), "an export of a checkpoint");
    }
    bench_close(&again);
    value = &b.t->store.weights[b.t->store.params[0].at + 5];
    *value = 65519;
    CHECK(!hybrid_trainer_export(b.t, path, HYBRID_MIX_F16, &e), "%s", e.message);
    *value = -65520;
    CHECK(hybrid_trainer_export(b.t, path, HYBRID_MIX_F16, &e) == HYBRID_ERROR_NUMERIC &&
              strstr(e.message, "token_embd.weight"),
          "%s", e.message);
    CHECK(!hybrid_trainer_export(b.t, path, HYBRID_MIX_F32, &e), "%s", e.message);
    *value = (float)NAN;
    for (i = 0; i < HYB_COUNT(mixes); i++)
        CHECK(hybrid_trainer_export(b.t, path, mixes[i], &e) == HYBRID_ERROR_NUMERIC, "%d: NaN", (int)mixes[i]);
    CHECK(hybrid_trainer_save(b.t, scratch("as model"), &e) == HYBRID_ERROR_NUMERIC, "a checkpoint of NaN");
    CHECK(hybrid_trainer_export(b.t, path, (hybrid_mix)1000, &e) == HYBRID_ERROR_INVALID, "no mix");
    bench_close(&b);
}

static void test_nulls(void)
{
    hybrid_error e;
    size_t size = 1;
    TEST("NULL");
    CHECK(hybrid_trainer_save(NULL, "x", &e) == HYBRID_ERROR_INVALID &&
              hybrid_trainer_load(NULL, "x", &e) == HYBRID_ERROR_INVALID &&
              hybrid_trainer_export(NULL, "x", HYBRID_MIX_F32, &e) == HYBRID_ERROR_INVALID &&
              hybrid_trainer_set_user(NULL, "x", 1, &e) == HYBRID_ERROR_INVALID,
          "no trainer");
    CHECK(!hybrid_trainer_user(NULL, &size) && !size && !hybrid_trainer_steps(NULL), "no trainer");
}

static void empty_scratch(void)
{
#if !defined(_WIN32)
    DIR *folder = opendir(scratch_of);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.') remove(scratch(entry->d_name));
    if (folder) closedir(folder);
    rmdir(scratch_of);
#endif
}

int main(void)
{
    const char *kills = getenv("HYBRID_KILLS");
    snprintf(scratch_of, sizeof scratch_of, "build/checkpoint-%ld", (long)getpid());
#if defined(_WIN32)
    snprintf(scratch_of, sizeof scratch_of, ".");
#else
    mkdir("build", 0777);
    if (mkdir(scratch_of, 0777)) snprintf(scratch_of, sizeof scratch_of, ".");
    test_resume(gpt2, 1, getenv("HYBRID_SANITIZER") ? 20 : 100, NULL);
    test_resume(gpt2, 2, getenv("HYBRID_SANITIZER") ? 5 : 20, NULL);
    test_resume(llama, 2, 5, NULL);
    test_resume_optimizers();
    test_formats();
    test_kills(kills ? atoi(kills) : 20);
    test_sweep();
    test_disks();
#endif
    test_spoilt();
    test_foreign();
    test_other_optimizers();
    test_memory();
    test_reads();
    test_exports(gpt2);
    test_exports(llama);
    test_nulls();
    if (strcmp(scratch_of, ".")) empty_scratch();
    return test_end();
}
