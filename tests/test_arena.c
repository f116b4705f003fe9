/* The arena of device memory, against a model that is an array of bytes; no GPU is needed. */
#define HYBRID_IMPLEMENTATION
#ifndef HYBRID_NO_SIMD
    #define HYBRID_NO_SIMD /* the processor computes nothing here, and compiles fast */
#endif
#include "../hybrid.h"
#include "../hybrid_cuda.h"
#include "check.h"

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

static hybrid_runtime *make_runtime(counting *c)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt = NULL;
    memset(&desc, 0, sizeof desc);
    memset(c, 0, sizeof *c);
    desc.allocator.alloc = counting_alloc;
    desc.allocator.free = counting_free;
    desc.allocator.user = c;
    desc.n_threads = 1;
    hybrid_runtime_create(&desc, &rt, NULL);
    return rt;
}

static uint32_t seed = 1;
static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

/* What every state must hold: ranges cover the blocks in order, no two free neighbours, sums are right. */
static bool is_sound(const hyb_arena *a)
{
    const hyb_range *r;
    uint64_t total = 0, used = 0;
    unsigned blocks = 0, parts = 0;
    for (r = a->first; r; r = r->next) {
        if (r->next && r->next->previous != r) return false;
        if (!r->size || r->at % 256 || r->size % 256) return false;
        if (r->next && !r->next->starts_block && (r->next->at != r->at + r->size || (!r->holders && !r->next->holders)))
            return false;
        blocks += r->starts_block;
        total += r->size;
        if (r->holders) {
            used += r->size;
            parts++;
        }
    }
    return (!a->first || a->first->starts_block) && total == a->total && used == a->used && blocks == a->n_blocks &&
           parts == a->n_used && a->peak >= used;
}

static void test_steps(hybrid_runtime *rt)
{
    hyb_arena a;
    uint64_t p[4] = { 0, 0, 0, 0 }, block = 0, x = 0;
    TEST("steps");
    hyb_arena_create(&a, rt);
    CHECK(hyb_arena_take(&a, 1, &x) == HYBRID_ERROR_LIMIT, "no block yet");
    CHECK(hyb_arena_add(&a, 0x10000, 4096) && hyb_arena_add(&a, 0x11000, 1024), "two blocks that touch");
    CHECK(hyb_arena_take(&a, 1000, &p[0]) == 0 && p[0] == 0x11000, "best fit is the small block: %llx",
          (unsigned long long)p[0]);
    CHECK(hyb_arena_take(&a, 1, &p[1]) == 0 && p[1] == 0x10000, "then the other: %llx", (unsigned long long)p[1]);
    CHECK(hyb_arena_take(&a, 257, &p[2]) == 0 && p[2] == 0x10100, "aligned: %llx", (unsigned long long)p[2]);
    CHECK(hyb_arena_take(&a, 0, &p[3]) == 0 && p[3] == 0x10300, "nothing takes 256 bytes: %llx",
          (unsigned long long)p[3]);
    CHECK(a.used == 1024 + 256 + 512 + 256 && is_sound(&a), "%llu used", (unsigned long long)a.used);
    CHECK(hyb_arena_take(&a, 4096, &x) == HYBRID_ERROR_LIMIT &&
              hyb_arena_take(&a, UINT64_MAX, &x) == HYBRID_ERROR_LIMIT,
          "too much");
    CHECK(hyb_arena_hold(&a, p[2] + 300) && !hyb_arena_hold(&a, 0x10800),
          "a view of what is there, not of what is free");
    CHECK(hyb_arena_free(&a, p[2], &block), "the view keeps it");
    CHECK(!block, "the view keeps it");
    CHECK(a.n_used == 4, "the view keeps it");
    CHECK(hyb_arena_free(&a, p[2] + 511, &block), "its last holder frees it");
    CHECK(!block, "its last holder frees it");
    CHECK(a.n_used == 3, "its last holder frees it");
    CHECK(is_sound(&a), "its last holder frees it");
    CHECK(!hyb_arena_free(&a, p[2], &block) && !hyb_arena_free(&a, 77, &block), "twice, or never given");
    CHECK(hyb_arena_take(&a, 500, &x) == 0 && x == p[2], "the hole is the best fit");
    CHECK(hyb_arena_free(&a, x, &block), "joined with what is before");
    CHECK(hyb_arena_free(&a, p[1], &block), "joined with what is before");
    CHECK(!block, "joined with what is before");
    CHECK(is_sound(&a), "joined with what is before");
    CHECK(hyb_arena_free(&a, p[0], &block), "an empty block leaves, alone, though another touches it");
    CHECK(block == 0x11000, "an empty block leaves, alone, though another touches it");
    CHECK(a.n_blocks == 1, "an empty block leaves, alone, though another touches it");
    CHECK(is_sound(&a), "an empty block leaves, alone, though another touches it");
    CHECK(hyb_arena_free(&a, p[3], &block), "nothing is left, peak %llu", (unsigned long long)a.peak);
    CHECK(block == 0x10000, "nothing is left, peak %llu", (unsigned long long)a.peak);
    CHECK(!a.first, "nothing is left, peak %llu", (unsigned long long)a.peak);
    CHECK(!a.total, "nothing is left, peak %llu", (unsigned long long)a.peak);
    CHECK(!a.used, "nothing is left, peak %llu", (unsigned long long)a.peak);
    CHECK(a.peak == 2048, "nothing is left, peak %llu", (unsigned long long)a.peak);
    hyb_arena_destroy(&a);
}

enum { BLOCKS = 5, UNITS = 256, PARTS = 200 }; /* in units of 256 bytes */

static void test_random(hybrid_runtime *rt)
{
    static unsigned char owner[BLOCKS][UNITS];
    struct {
        uint64_t at, units;
        int views;
        unsigned char mark;
    } parts[PARTS];
    bool present[BLOCKS] = { false };
    uint64_t base[BLOCKS], block;
    hyb_arena a;
    int i, b, n = 0, step, wrong = 0, refused = 0;
    TEST("random");
    hyb_arena_create(&a, rt);
    memset(owner, 0, sizeof owner);
    /* they touch: joining across would show */
    for (b = 0; b < BLOCKS; b++) base[b] = 0x100000u + (uint64_t)b * UNITS * 256;
    for (step = 0; step < 60000 && !wrong; step++) {
        uint32_t what = pick(100);
        if (what < 4) {
            b = (int)pick(BLOCKS);
            if (!present[b]) {
                present[b] = hyb_arena_add(&a, base[b], UNITS * 256);
                wrong += !present[b];
                memset(owner[b], 0, UNITS);
            }
        } else if (what < 52 && n < PARTS) {
            uint64_t units = 1 + (pick(4) ? pick(12) : pick(150)), at = 0, best = UNITS + 1;
            int u, run = 0;
            hybrid_result r = hyb_arena_take(&a, units * 256 - pick(256), &at);
            for (b = 0; b < BLOCKS; b++) /* the model: the length of the smallest hole that is long enough */
                for (u = 0, run = 0; present[b] && u <= UNITS; u++) {
                    if (u < UNITS && !owner[b][u]) {
                        run++;
                        continue;
                    }
                    if ((uint64_t)run >= units && (uint64_t)run < best) best = (uint64_t)run;
                    run = 0;
                }
            if (r) {
                refused++;
                wrong += r != HYBRID_ERROR_LIMIT || best <= UNITS;
                continue;
            }
            b = (int)((at - base[0]) / (UNITS * 256));
            u = (int)((at - base[b]) / 256);
            wrong += best > UNITS || at % 256 || !present[b] || u + (int)units > UNITS || (u > 0 && !owner[b][u - 1]);
            for (run = 0; u + run < UNITS && !owner[b][u + run]; run++) {}
            wrong += (uint64_t)run != best; /* best fit, from its beginning */
            for (i = 0; i < (int)units && !wrong; i++) {
                wrong += owner[b][u + i];
                owner[b][u + i] = (unsigned char)(1 + step % 255);
            }
            parts[n].at = at;
            parts[n].units = units;
            parts[n].views = 1;
            parts[n].mark = (unsigned char)(1 + step % 255);
            n++;
        } else if (n) {
            int k = (int)pick((uint32_t)n), u;
            uint64_t inside = parts[k].at + pick((uint32_t)parts[k].units * 256);
            if (what < 58) {
                wrong += !hyb_arena_hold(&a, inside);
                parts[k].views++;
                continue;
            }
            wrong += !hyb_arena_free(&a, inside, &block);
            b = (int)((parts[k].at - base[0]) / (UNITS * 256));
            u = (int)((parts[k].at - base[b]) / 256);
            if (--parts[k].views) {
                wrong += block != 0;
                continue;
            }
            for (i = 0; i < (int)parts[k].units; i++) {
                wrong += owner[b][u + i] != parts[k].mark;
                owner[b][u + i] = 0;
            }
            parts[k] = parts[--n];
            for (i = 0; i < UNITS && !owner[b][i]; i++) {}
            wrong += (i == UNITS) != (block != 0) || (block && block != base[b]);
            if (block) present[b] = false;
        }
        wrong += !is_sound(&a);
    }
    CHECK(wrong == 0 && refused > 100, "step %d, %d refused", step, refused);
    for (; n; n--)
        while (parts[n - 1].views--) hyb_arena_free(&a, parts[n - 1].at, &block);
    CHECK(is_sound(&a) && a.used == 0, "all freed");
    hyb_arena_destroy(&a);
}

static void test_no_memory(hybrid_runtime *rt, counting *c)
{
    long n, left = c->blocks;
    TEST("no host memory");
    for (n = 1; n < 100; n++) {
        hyb_arena a;
        uint64_t at[8], block;
        int i, taken = 0, failed = 0;
        hyb_arena_create(&a, rt);
        c->calls = 0;
        c->fail_at = n;
        if (!hyb_arena_add(&a, 0x1000, 0x10000)) failed++;
        for (i = 0; i < 8 && !failed; i++) {
            hybrid_result r = hyb_arena_take(&a, 1000, &at[i]);
            if (r) {
                CHECK(r == HYBRID_ERROR_MEMORY, "%d", r);
                failed++;
            } else
                taken++;
        }
        CHECK(is_sound(&a), "sound after allocation %ld failed", n);
        c->fail_at = 0;
        for (i = 0; i < taken; i++) CHECK(hyb_arena_free(&a, at[i], &block), "free needs no memory");
        hyb_arena_destroy(&a);
        CHECK(c->blocks == left, "%ld blocks left", c->blocks - left);
        if (!failed) break;
    }
    CHECK(n == 10, "9 allocations could fail, not %ld", n - 1);
}

int main(void)
{
    counting c;
    hybrid_runtime *rt = make_runtime(&c);
    test_steps(rt);
    test_random(rt);
    test_no_memory(rt, &c);
    hybrid_runtime_destroy(rt);
    CHECK(c.blocks == 0, "%ld blocks left", c.blocks);
    return test_end();
}
