/* The foundation: runtime, worker pool, host hooks, files, half floats, random numbers. The thread tests mean most
 * under ThreadSanitizer.
 * [tsan] [aarch64] */
#include "private.h"

/* ---- an allocator that counts, and fails when told --------------------------------------------------------------- */

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

static hybrid_runtime *make_runtime(int n_threads)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    desc.n_threads = n_threads;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK && rt, "%d threads", n_threads);
    return rt;
}

static void test_create(void)
{
    char version[32];
    hybrid_runtime_desc desc;
    hybrid_runtime *rt, *own;
    hybrid_error err;
    counting c = { 0, 0, 0 };
    long n;

    TEST("create");
    memset(&desc, 0, sizeof desc);
    CHECK(hybrid_runtime_create(NULL, &rt, &err) == HYBRID_OK && hybrid_runtime_threads(rt) >= 1, "default");
    CHECK(strcmp(hybrid_runtime_isa(rt), hybrid_runtime_isa(NULL)) == 0, "%s", hybrid_runtime_isa(rt));
    hybrid_runtime_destroy(rt);
    hybrid_runtime_destroy(NULL);
    CHECK(hybrid_runtime_create(NULL, NULL, &err) == HYBRID_ERROR_INVALID && strlen(err.message) > 10, "%s",
          err.message);
    desc.n_threads = -1;
    CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_ERROR_INVALID, "%s", err.message);
    CHECK(!rt, "%s", err.message);
    CHECK(strstr(err.message, "-1"), "%s", err.message);
    desc.n_threads = 1 << 20;
    CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_ERROR_INVALID && !rt, "%s", err.message);
    desc.n_threads = 0;
    desc.isa = "z80";
    CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_ERROR_INVALID && strstr(err.message, "z80"), "%s",
          err.message);
    desc.isa = "generic";
    CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_OK && strcmp(hybrid_runtime_isa(rt), "generic") == 0, "%s",
          err.message);
    hybrid_runtime_destroy(rt);
    desc.isa = NULL;

    TEST("allocator");
    desc.allocator.alloc = counting_alloc;
    CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_ERROR_INVALID, "alloc without free");
    desc.allocator.free = counting_free;
    desc.allocator.user = &c;
    desc.n_threads = 3;
    for (n = 1;; n++) {
        c.calls = 0;
        c.fail_at = n;
        if (hybrid_runtime_create(&desc, &rt, &err) == HYBRID_OK) break;
        CHECK(err.result == HYBRID_ERROR_MEMORY, "allocation %ld failed: %s, %ld blocks left", n, err.message,
              c.blocks);
        CHECK(!rt, "allocation %ld failed: %s, %ld blocks left", n, err.message, c.blocks);
        CHECK(c.blocks == 0, "allocation %ld failed: %s, %ld blocks left", n, err.message, c.blocks);
    }
    CHECK(n > 1 && c.blocks > 0, "the allocator is used (%ld)", n);
    CHECK(hyb_runtime_retain(rt, &own, &err) == HYBRID_OK && own == rt, "retained");
    hybrid_runtime_destroy(rt); /* an object still holds it */
    CHECK(c.blocks > 0 && hybrid_runtime_threads(own) == 3, "alive");
    hyb_runtime_release(own);
    CHECK(c.blocks == 0, "%ld blocks left", c.blocks);

    TEST("results");
    CHECK(strcmp(hybrid_result_text(HYBRID_OK), "ok") == 0 &&
              strcmp(hybrid_result_text((hybrid_result)-77), "unknown result") == 0,
          "texts");
    CHECK(strcmp(hybrid_version(), HYBRID_VERSION) == 0, "version");
    snprintf(version, sizeof version, "%d.%d.%d", HYBRID_VERSION_NUMBER / 10000, HYBRID_VERSION_NUMBER / 100 % 100,
             HYBRID_VERSION_NUMBER % 100);
    CHECK(strcmp(version, HYBRID_VERSION) == 0, "the number of the version is that of %s", version);
    /* of hybrid.h: a digest */
    CHECK(strcmp(hybrid_source_id(), "dev") == 0 || strlen(hybrid_source_id()) == 16, "%s", hybrid_source_id());
}

/* ---- the caller's idea of the library --------------------------------------------------------------------------- */

#define SIZE_OF(name) { #name, sizeof(name) },
static void test_abi(void)
{
    static const hybrid_struct_size right[] = { HYBRID_STRUCTS(SIZE_OF) };
    const int32_t version = HYBRID_VERSION_NUMBER;
    hybrid_struct_size wrong[HYB_COUNT(right)];
    hybrid_error e;
    size_t i;
    TEST("the sizes of structs, as a caller has them");
    CHECK(HYB_COUNT(right) > 40 && !hybrid_abi_check(version, right, HYB_COUNT(right), &e), "%s", e.message);
    CHECK(!hybrid_abi_check(version, NULL, 0, &e), "%s", e.message);
    for (i = 0; i < HYB_COUNT(right); i++) { /* every size is looked at, and every name is known by itself */
        memcpy(wrong, right, sizeof right);
        wrong[i].size += i % 2 ? 8 : (size_t)-1;
        CHECK(hybrid_abi_check(version, wrong, HYB_COUNT(right), &e) == HYBRID_ERROR_UNSUPPORTED &&
                  strstr(e.message, right[i].name) == e.message && strstr(e.message, "bytes in this library"),
              "%s: %s", right[i].name, e.message);
        CHECK(hybrid_abi_check(version, wrong, i, NULL) == HYBRID_OK, "only the first %d are asked for", (int)i);
    }
    wrong[0].name = "hybrid_erro";
    CHECK(hybrid_abi_check(version, wrong, 1, &e) == HYBRID_ERROR_NOT_FOUND && strstr(e.message, "'hybrid_erro'"), "%s",
          e.message);
    wrong[0].name = NULL;
    CHECK(hybrid_abi_check(version, wrong, 1, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "NULL"), "%s",
          e.message);
    CHECK(hybrid_abi_check(version, NULL, 1, NULL) == HYBRID_ERROR_INVALID, "no structs");
    CHECK(!hybrid_abi_check(version / 100 * 100 + 99, right, 1, &e), "another patch: %s", e.message);
    CHECK(hybrid_abi_check(version + 100, right, 1, &e) == HYBRID_ERROR_UNSUPPORTED && strstr(e.message, "0.2"), "%s",
          e.message);
    CHECK(hybrid_abi_check(version + 10000, right, 1, &e) == HYBRID_ERROR_UNSUPPORTED && strstr(e.message, "1.1"), "%s",
          e.message);
}

/* ---- the pool: every chunk once, no lane twice at a time --------------------------------------------------------- */

enum { MOST_CHUNKS = 70000 };
typedef struct section {
    hybrid_runtime *rt;
    unsigned char hits[MOST_CHUNKS]; /* written without a lock: two runs of a chunk would be a race, and seen */
    volatile uint64_t lanes[16];
    volatile uint64_t wrong;
    int n_lanes;
    int nested;
} section;

static void nested_chunk(void *arg, int chunk, int lane)
{
    (void)chunk;
    (void)lane;
    hyb_atomic_add((volatile uint64_t *)arg, 1);
}
static void one_chunk(void *arg, int chunk, int lane)
{
    section *s = (section *)arg;
    if (lane < 0 || lane >= s->n_lanes || hyb_atomic_add(&s->lanes[lane], 1) != 0) hyb_atomic_add(&s->wrong, 1);
    s->hits[chunk]++;
    if (s->nested) { /* a section inside a section runs on this thread */
        volatile uint64_t count = 0;
        hyb_parallel(s->rt, 5, nested_chunk, (void *)&count);
        if (count != 5) hyb_atomic_add(&s->wrong, 1);
    }
    hyb_atomic_add(&s->lanes[lane], (uint64_t)-1);
}
static bool run_section(hybrid_runtime *rt, section *s, int n, int nested)
{
    int i;
    memset((void *)s, 0, sizeof *s);
    s->rt = rt;
    s->n_lanes = hyb_lanes(rt);
    s->nested = nested;
    hyb_parallel(rt, n, one_chunk, s);
    for (i = 0; i < n; i++)
        if (s->hits[i] != 1) return false;
    return !s->wrong;
}

static void test_pool(void)
{
    static const int sizes[] = { 0, 1, 2, 3, 17, 1000, 65535, 65536, MOST_CHUNKS };
    section *s = (section *)malloc(sizeof *s);
    int threads, i, round;
    TEST("pool");
    for (threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        hybrid_runtime *rt = make_runtime(threads);
        for (i = 0; i < (int)HYB_COUNT(sizes); i++)
            CHECK(run_section(rt, s, sizes[i], 0), "%d chunks on %d threads", sizes[i], threads);
        for (round = 0; round < 300; round++) /* many short sections, some after the workers went to sleep */
            if (!run_section(rt, s, 1 + round % 9, round % 3 == 0)) break;
        CHECK(round == 300, "round %d on %d threads", round, threads);
        for (round = 0; round < 3; round++) {
            uint64_t until = hyb_now_us() + 3 * HYB_SPIN_US;
            while (hyb_now_us() < until) {}
            CHECK(run_section(rt, s, 64, 0), "after a sleep");
        }
        hybrid_runtime_destroy(rt);
    }
    { /* never used: its threads never start */
        hybrid_runtime *rt = make_runtime(4);
        hybrid_runtime_destroy(rt);
    }
    free(s);
}

/* ---- several threads of the host on one runtime ------------------------------------------------------------------ */

#if defined(HYB_THREADS_POSIX)
typedef struct client {
    hybrid_runtime *rt;
    volatile uint64_t wrong;
} client;
static void *client_main(void *arg)
{
    client *c = (client *)arg;
    section *s = (section *)malloc(sizeof *s);
    int round;
    for (round = 0; round < 200; round++)
        if (!run_section(c->rt, s, 1 + round % 33, 0)) hyb_atomic_add(&c->wrong, 1);
    hyb_runtime_release(c->rt);
    free(s);
    return NULL;
}
static void test_clients(void)
{
    pthread_t threads[4];
    hybrid_runtime *own;
    client c;
    int i;
    TEST("several threads on one runtime");
    c.rt = make_runtime(3);
    c.wrong = 0;
    for (i = 0; i < 4; i++) hyb_runtime_retain(c.rt, &own, NULL);
    for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, client_main, &c) == 0, "thread %d", i);
    hybrid_runtime_destroy(c.rt); /* the clients hold it, and the last one ends it */
    for (i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(c.wrong == 0, "%d sections went wrong", (int)c.wrong);
}
#endif

/* ---- the host's own job system ----------------------------------------------------------------------------------- */

static void host_backwards(void *user, int32_t n, hybrid_task_fn fn, void *arg)
{
    int i;
    ++*(int *)user;
    for (i = n; i-- > 0;) fn(arg, i);
}
static void test_host(void)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    section *s = (section *)malloc(sizeof *s);
    int calls = 0;
    TEST("host threads");
    memset(&desc, 0, sizeof desc);
    desc.n_threads = 4;
    desc.parallel_for = host_backwards;
    desc.parallel_user = &calls;
    CHECK(hybrid_runtime_create(&desc, &rt, NULL) == HYBRID_OK, "create");
    CHECK(run_section(rt, s, 1000, 1) && calls == 1, "%d calls", calls);
    CHECK(run_section(rt, s, 2, 0) && calls == 2, "%d calls", calls);
    CHECK(run_section(rt, s, 1, 0) && calls == 2, "one chunk needs no host: %d calls", calls);
    hybrid_runtime_destroy(rt);
    free(s);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static void test_halves(void)
{
    uint32_t h, i, wrong = 0;
    TEST("half and brain floats");
    for (h = 0; h < 65536; h++) {
        float f = hyb_f16_to_f32((uint16_t)h);
        int exponent = (int)(h >> 10 & 31), man = (int)(h & 1023);
        double want = exponent == 0 ? ldexp(man, -24) : ldexp(1024 + man, exponent - 25);
        if (exponent == 31) {
            if (man ? f == f : !isinf(f)) wrong++;
            if (!man && hyb_f32_to_f16(f) != h) wrong++;
        } else {
            if ((double)f != (h & 0x8000 ? -want : want) || !signbit(f) != !(h & 0x8000) || hyb_f32_to_f16(f) != h)
                wrong++;
        }
        f = hyb_bf16_to_f32((uint16_t)h);
        if (f == f && hyb_f32_to_bf16(f) != h) wrong++;
        if (f != f && hyb_bf16_to_f32(hyb_f32_to_bf16(f)) == hyb_bf16_to_f32(hyb_f32_to_bf16(f))) wrong++;
    }
    CHECK(wrong == 0, "%u of the 65536 halves", wrong);

    /* Rounding: between two neighbours the nearer, half way the even one; beyond 65504 + 16 infinity. Over all
     * finite neighbours. */
    for (h = 0, wrong = 0; h < 0x7BFF; h++) {
        double a = hyb_f16_to_f32((uint16_t)h), b = hyb_f16_to_f32((uint16_t)(h + 1)), middle = (a + b) / 2;
        uint32_t even = h & 1 ? h + 1 : h;
        float m = (float)middle, below = hyb_bits_f32(hyb_f32_bits(m) - 1), above = hyb_bits_f32(hyb_f32_bits(m) + 1);
        if (hyb_f32_to_f16(m) != even || hyb_f32_to_f16(below) != h || hyb_f32_to_f16(above) != h + 1) wrong++;
        if (hyb_f32_to_f16(-m) != (even | 0x8000u)) wrong++;
    }
    CHECK(wrong == 0, "%u roundings", wrong);
    CHECK(hyb_f32_to_f16(65519.996f) == 0x7BFF, "overflow");
    CHECK(hyb_f32_to_f16(65520.0f) == 0x7C00, "overflow");
    CHECK(hyb_f32_to_f16(1e30f) == 0x7C00, "overflow");
    CHECK(hyb_f32_to_f16(1e-30f) == 0 && hyb_f32_to_f16(-1e-30f) == 0x8000, "underflow");
    CHECK((hyb_f32_to_f16(hyb_bits_f32(0x7F800001u)) & 0x7FFFu) > 0x7C00u, "NaN stays NaN");
    for (i = 0, wrong = 0; i < 200000; i++) { /* brain floats: to the nearest, ties to even */
        uint32_t r[4], u, low, want;
        hyb_philox(7, 0, i, r);
        u = r[0] & 0x7FFFFFFFu;
        if (u >= 0x7F7F0000u) continue;
        low = u & 0xFFFFu;
        want = (u >> 16) + (low > 0x8000u || (low == 0x8000u && (u >> 16 & 1)));
        if (hyb_f32_to_bf16(hyb_bits_f32(u)) != want) wrong++;
    }
    CHECK(wrong == 0, "%u brain floats", wrong);
}

static uint32_t random_float(uint64_t i)
{
    uint32_t r[4];
    hyb_philox(11, 0, i, r);
    if (r[1] % 4 == 0) r[0] &= 0xFFFFF000u; /* short ones meet half ways */
    if (r[1] % 5 == 0) r[0] = (r[0] & 0x80FFFFFFu) | (120 + (r[2] & 7)) << 24 >> 1;
    return r[0];
}

/* a * b + c with one rounding: exact rational arithmetic (tests/oracle/make_fma.py), and the C library's where that
 * is right. */
static void test_fma(void)
{
    unsigned a, b, c, want, n = 0, wrong = 0, i;
    FILE *f = fopen("tests/oracle/data/fma.txt", "r");
    TEST("fma");
    CHECK(f != NULL, "tests/oracle/data/fma.txt");
    while (f && fscanf(f, "%x %x %x %x", &a, &b, &c, &want) == 4) {
        const uint32_t own = hyb_f32_bits(hyb_fma_own(hyb_bits_f32(a), hyb_bits_f32(b), hyb_bits_f32(c)));
        const uint32_t used = hyb_f32_bits(hyb_fmaf(hyb_bits_f32(a), hyb_bits_f32(b), hyb_bits_f32(c)));
        n++;
        wrong += own != want || used != want;
        CHECK(own == want && used == want, "%08x * %08x + %08x: %08x and %08x, not %08x", a, b, c, own, used, want);
    }
    if (f) fclose(f);
    CHECK(n > 500 && !wrong, "%u of %u", wrong, n);
#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
    for (i = 0, wrong = 0; i < 300000; i++) {
        const float x = hyb_bits_f32(random_float(3 * i)), y = hyb_bits_f32(random_float(3 * i + 1)),
                    z = hyb_bits_f32(random_float(3 * i + 2));
        const float own = hyb_fma_own(x, y, z), other = fmaf(x, y, z);
        wrong += own == own ? hyb_f32_bits(own) != hyb_f32_bits(other) : other == other;
    }
    CHECK(wrong == 0, "%u of %u random ones", wrong, i);
#endif
    CHECK(hyb_fma_own(HUGE_VALF, 2, -HUGE_VALF) != hyb_fma_own(HUGE_VALF, 2, -HUGE_VALF), "infinities");
    CHECK(hyb_fma_own(HUGE_VALF, 2, 1) == HUGE_VALF, "infinities");
    CHECK(hyb_fma_own(3e38f, 3e38f, -HUGE_VALF) == -HUGE_VALF, "infinities");
    CHECK(hyb_fma_own(0, HUGE_VALF, 1) != hyb_fma_own(0, HUGE_VALF, 1), "infinities");
}

static void test_random(void)
{
    /* The known answers of the Random123 distribution: philox 4x32, 10 rounds. */
    /* clang-format off */
    static const struct { uint32_t counter[4], key[2], out[4]; } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627E8D5u, 0xE169C58Du, 0xBC57AC4Cu, 0x9B00DBD8u } },
        { { 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu }, { 0xFFFFFFFFu, 0xFFFFFFFFu },
        { 0x408F276Du, 0x41C83B0Eu, 0xA20BC7C6u, 0x6D5451FDu } },
        { { 0x243F6A88u, 0x85A308D3u, 0x13198A2Eu, 0x03707344u }, { 0xA4093822u, 0x299F31D0u },
        { 0xD16CFE09u, 0x94FDCCEBu, 0x5001E420u, 0x24126EA1u } },
    };
    /* clang-format on */
    uint32_t out[4];
    int i, cells[16] = { 0 };
    double sum = 0;
    TEST("random");
    for (i = 0; i < 3; i++) {
        hyb_philox((uint64_t)known[i].key[1] << 32 | known[i].key[0],
                   (uint64_t)known[i].counter[3] << 32 | known[i].counter[2],
                   (uint64_t)known[i].counter[1] << 32 | known[i].counter[0], out);
        CHECK(memcmp(out, known[i].out, sizeof out) == 0, "vector %d: %08x %08x %08x %08x", i, out[0], out[1], out[2],
              out[3]);
    }
    for (i = 0; i < 160000; i++) {
        double u = hyb_random_uniform(1, 2, (uint64_t)i);
        if (u < 0 || u >= 1) {
            CHECK(0, "%g", u);
            return;
        }
        cells[(int)(u * 16)]++;
    }
    for (i = 0; i < 16; i++) sum += (cells[i] - 10000.0) * (cells[i] - 10000.0) / 10000.0;
    CHECK(sum < 45, "chi squared of 15 degrees: %g", sum);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

typedef struct fake {
    const unsigned char *bytes;
    int closed, reads;
} fake;
static bool fake_read(void *user, uint64_t offset, void *dst, size_t n)
{
    fake *f = (fake *)user;
    f->reads++;
    memcpy(dst, f->bytes + offset, n);
    return true;
}
static void fake_close(void *user) { ((fake *)user)->closed++; }

static void test_files(void)
{
    static const unsigned char bytes[] = "0123456789";
    hybrid_source source;
    hyb_file f;
    hybrid_error err;
    char got[8];
    fake user = { bytes, 0, 0 };

    TEST("files");
    memset(&source, 0, sizeof source);
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_ERROR_INVALID, "nothing given");
    source.data = bytes;
    source.size = 10;
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_OK, "memory");
    CHECK(hyb_file_read(&f, 7, got, 3, &err) == HYBRID_OK, "memory");
    CHECK(!memcmp(got, "789", 3), "memory");
    CHECK(hyb_file_read(&f, 8, got, 3, &err) == HYBRID_ERROR_FORMAT && err.offset == 8, "past the end");
    CHECK(hyb_file_read(&f, UINT64_MAX, got, 3, &err) == HYBRID_ERROR_FORMAT, "far past the end");
    CHECK(hyb_file_read(&f, 10, got, 0, &err) == HYBRID_OK, "nothing at the end");
    hyb_file_close(&f);
    source.reader.read_at = fake_read;
    source.reader.close = fake_close;
    source.reader.user = &user;
    source.reader.size = 10;
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_ERROR_INVALID && user.closed == 1, "two given: closed %d times",
          user.closed);
    source.data = NULL;
    user.closed = 0;
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_OK, "reader");
    CHECK(hyb_file_read(&f, 0, got, 2, &err) == HYBRID_OK, "reader");
    CHECK(!memcmp(got, "01", 2), "reader");
    CHECK(hyb_file_read(&f, 9, got, 2, &err) == HYBRID_ERROR_FORMAT && user.reads == 1,
          "a reader is not asked beyond its size");
    hyb_file_close(&f);
    CHECK(user.closed == 1, "closed %d times", user.closed);
    memset(&source, 0, sizeof source);
    source.path = "no/such/file";
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_ERROR_IO && strstr(err.message, "no/such/file"), "%s",
          err.message);
    source.path = "tests";
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_ERROR_IO, "a folder");
    source.path = "tests/test_runtime.c";
    CHECK(hyb_file_open(&source, &f, &err) == HYBRID_OK, "a path: %s", err.message);
    CHECK(hyb_file_read(&f, 0, got, 6, &err) == HYBRID_OK, "a path: %s", err.message);
    CHECK(!memcmp(got, "/* The", 6), "a path: %s", err.message);
    hyb_file_close(&f);
}

/* SipHash-1-3 as CPython computes it (tests/oracle/make_hash.py); and keys that no one can foresee. */
static void test_hash(void)
{
    unsigned char text[1008];
    char *vectors = read_file("tests/oracle/data/hash.txt", NULL), *at = vectors;
    hybrid_runtime *one = make_runtime(1), *two = make_runtime(1);
    unsigned long long k0, k1, value;
    unsigned n, i, count = 0;
    int used, shift, bits;
    TEST("hash");
    CHECK(vectors != NULL, "tests/oracle/data/hash.txt is missing");
    while (at && sscanf(at, "%llx %llx %u %llx %n", &k0, &k1, &n, &value, &used) == 4 && n <= 1000) {
        hyb_hash_key key;
        uint64_t h;
        key.k0 = k0;
        key.k1 = k1;
        shift = (int)(++count % 8); /* at any address */
        for (i = 0; i < n; i++) text[(unsigned)shift + i] = (unsigned char)(i % 251);
        h = hyb_hash(&key, text + shift, n);
        CHECK(h == value, "%u bytes: %016llx, CPython has %016llx", n, (unsigned long long)h, value);
        at += used;
    }
    CHECK(count > 100, "%u vectors", count);
    CHECK(at && !*at, "%u vectors", count);
    free(vectors);
    CHECK(hyb_hash(&one->hash_key, NULL, 0) != hyb_hash(&two->hash_key, NULL, 0), "two runtimes have one key");
    for (k0 = one->hash_key.k0 ^ two->hash_key.k0, bits = 0; k0; k0 &= k0 - 1) bits++;
    for (k0 = one->hash_key.k1 ^ two->hash_key.k1; k0; k0 &= k0 - 1) bits++;
    CHECK(bits > 30 && bits < 98, "the keys of two runtimes differ in %d of 128 bits", bits);
    hybrid_runtime_destroy(one);
    hybrid_runtime_destroy(two);
}

/* ---- arrays that grow -------------------------------------------------------------------------------------------- */

static void test_grow(void)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    hybrid_error err;
    counting c;
    int32_t *items = NULL, *before;
    size_t n, i, capacity = 0;
    long moves = 0;
    TEST("arrays that grow");
    memset(&c, 0, sizeof c);
    memset(&desc, 0, sizeof desc);
    desc.n_threads = 1;
    desc.allocator.alloc = counting_alloc;
    desc.allocator.free = counting_free;
    desc.allocator.user = &c;
    CHECK(!hybrid_runtime_create(&desc, &rt, &err), "%s", err.message);
    for (n = 0; n < 5000; n++) {
        before = items;
        CHECK(!HYB_GROW(rt, items, capacity, n, n + 1, &err), "%s", err.message);
        moves += items != before;
        items[n] = (int32_t)n;
    }
    for (i = 0; i < n && items[i] == (int32_t)i; i++) {}
    CHECK(i == n, "item %d was lost", (int)i);
    CHECK(moves <= 10, "%ld blocks for %d items", moves, (int)n);
    before = items;
    i = capacity;
    CHECK(!HYB_GROW(rt, items, capacity, n, capacity, &err) && items == before, "there was room");
    c.calls = 0;
    c.fail_at = 1;
    CHECK(HYB_GROW(rt, items, capacity, n, 3 * n, &err) == HYBRID_ERROR_MEMORY, "no memory");
    CHECK(items == before, "no memory: the block stands");
    CHECK(capacity == i, "no memory: the capacity stands");
    CHECK(err.message[0], "no memory: a sentence");
    c.fail_at = 0;
    CHECK(HYB_GROW(rt, items, capacity, n, SIZE_MAX / sizeof *items + 1, &err) == HYBRID_ERROR_MEMORY, "beyond size_t");
    CHECK(items == before, "beyond size_t: the block stands");
    CHECK(!HYB_GROW(rt, items, capacity, n, 3 * n, NULL), "grows at once as far as it is asked");
    CHECK(capacity >= 3 * n && items[n - 1] == (int32_t)n - 1, "and keeps what was there");
    hyb_free(rt, items);
    hybrid_runtime_destroy(rt);
    CHECK(c.blocks == 0, "%ld blocks are left", c.blocks);
}

/* ---- the names of devices: a back end brings its own ------------------------------------------------------------- */

static int toy_opened = -1;
static hybrid_result toy_open(hybrid_runtime *rt, int index, hyb_device **device, hybrid_error *error)
{
    (void)error;
    toy_opened = index;
    *device = (hyb_device *)(void *)rt; /* not looked into */
    return HYBRID_OK;
}
static const char *toy_wanted(void) { return NULL; }

static void test_device_names(void)
{
    static const hyb_provider toy = { "toy", NULL, toy_open, NULL, NULL, toy_wanted };
    static const struct {
        const char *name;
        int alone, beside_toy; /* what it is without a back end, and with that of toys */
    } names[] = { { "auto", HYB_DEVICE_AUTO, HYB_DEVICE_AUTO },
                  { "cpu", HYB_DEVICE_CPU, HYB_DEVICE_CPU },
                  { "toy", 0, 0 },
                  { "toy:0", 0, 0 },
                  { "toy:12", 12, 12 },
                  { "cuda:1", 1, HYB_DEVICE_UNKNOWN },
                  { "to", 0, HYB_DEVICE_UNKNOWN },
                  { "toys:1", 1, HYB_DEVICE_UNKNOWN },
                  { "toy:", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "toy1", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "toy:1x", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "toy:-1", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "toy:1234", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "Toy:1", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { ":1", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN },
                  { "averylongnameofadevicethatisnotone:1", HYB_DEVICE_UNKNOWN, HYB_DEVICE_UNKNOWN } };
    const hyb_provider *const linked = hyb_gpu_provider;
    hybrid_runtime *rt = make_runtime(1);
    hybrid_error err;
    size_t i;
    TEST("names of devices");
    hyb_gpu_provider = NULL;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(hyb_device_index(names[i].name) == names[i].alone, "%s: %d", names[i].name,
              hyb_device_index(names[i].name));
    hyb_gpu_provider = &toy;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(hyb_device_index(names[i].name) == names[i].beside_toy, "%s beside toys: %d", names[i].name,
              hyb_device_index(names[i].name));
    CHECK(!hyb_runtime_choose(rt, "toy:3", &err), "%s", err.message);
    CHECK(toy_opened == 3, "toy %d was opened", toy_opened);
    CHECK(hyb_runtime_choose(rt, "cuda", &err) == HYBRID_ERROR_INVALID, "it is not there");
    CHECK(strstr(err.message, "\"toy:N\""), "%s", err.message);
    hyb_gpu_provider = linked;
    rt->gpu = NULL;
    hybrid_runtime_destroy(rt);
}

int main(void)
{
    test_create();
    test_abi();
    test_grow();
    test_device_names();
    test_pool();
#if defined(HYB_THREADS_POSIX)
    test_clients();
#endif
    test_host();
    test_halves();
    test_fma();
    test_random();
    test_hash();
    test_files();
    return test_end();
}
