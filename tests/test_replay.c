/* The promise of determinism: one hash of all logits over threads, mixes of the batch and instruction sets. The hashes
 * below are constants:
 * every machine, compiler and optimisation level must arrive at them (a gate builds this file at -O0 and -O3). [tsan]
 * [no-asan] [simd] [aarch64] */
#include "interface.h"

enum { N_TOKENS = 70, N_GENERATE = 6 };

static uint64_t hash_more(uint64_t h, const void *data, size_t n) /* FNV-1a over 64-bit words */
{
    const unsigned char *p = (const unsigned char *)data;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        h = (h ^ v) * 0x100000001B3u;
    }
    return h;
}

static int argmax(const float *v, int n)
{
    int i, best = 0;
    for (i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

/* Logits of a prompt and of some greedy tokens behind it. mix: tokens at a time, and whether two other sequences
 * share the batch. */
static uint64_t replay(const char *path, const char *isa, int threads, int step, bool others, const int32_t *ids,
                       hybrid_kv kv)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_context *c = NULL;
    hybrid_error err;
    uint64_t h = 0xCBF29CE484222325u;
    int at, i, n;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    rd.n_threads = threads;
    rd.isa = isa;
    md.path = path;
    cd.n_ctx = 512;
    cd.n_seq = 3;
    cd.n_logits = 80;
    cd.n_batch = 48;
    cd.kv = kv;
    CHECK(!hybrid_runtime_create(&rd, &rt, &err) && !hybrid_model_load(rt, &md, &m, &err) &&
              !hybrid_context_create(m, &cd, &c, &err),
          "%s", err.message);
    for (at = 0; c && at < N_TOKENS + N_GENERATE; at += n) {
        int32_t next = at < N_TOKENS ? 0 : argmax(hybrid_logits(c, 1), model_info(m).n_vocab);
        n = at < N_TOKENS ? SMALLER(step, N_TOKENS - at) : 1;
        if (others) CHECK(!hybrid_batch_add(c, 0, ids + at % 50, 1 + (size_t)at % 3, &err), "%s", err.message);
        CHECK(!hybrid_batch_add_logits(c, 1, at < N_TOKENS ? ids + at : &next, (size_t)n, n, &err), "%s", err.message);
        if (others) CHECK(!hybrid_batch_add(c, 2, ids + at % 40, 1, &err), "%s", err.message);
        CHECK(!hybrid_decode(c, &err), "%s", err.message);
        for (i = 0; i < n; i++)
            h = hash_more(h, hybrid_logits_at(c, 1, i), (size_t)model_info(m).n_vocab * sizeof(float));
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    return h;
}

static void check_file(const char *name, const char *path, uint64_t want, hybrid_kv kv)
{
    static const int threads[] = { 1, 2, 3, 8 }, steps[] = { 70, 1, 13 };
    static const char *const isas[] = { "generic", "avx2", "avxvnni", "avx512", "neon" };
    /* five runs then, of threads, with the kernels of this machine */
    const bool slow = getenv("HYBRID_SANITIZER") != NULL;
    /* HYBRID_RUNS: at most so many of each instruction set, of several threads */
    const int most = getenv("HYBRID_RUNS") ? atoi(getenv("HYBRID_RUNS")) : 1000;
    int32_t ids[N_TOKENS];
    int i, t, s, o, of_isa, runs = 0;
    TEST(name);
    if (!path) {
        SKIP("the shared data folder has no model for %s", name);
        return;
    }
    if (!test_wanted_as("replay %s", name)) return;
    for (i = 0; i < N_TOKENS; i++) ids[i] = (i * 37 + 11) % 100 + 3;
    for (i = 0; i < COUNT(isas); i++) {
        hybrid_runtime_desc rd;
        hybrid_runtime *rt;
        bool there;
        memset(&rd, 0, sizeof rd);
        rd.isa = isas[i];
        if (hybrid_runtime_create(&rd, &rt, NULL)) continue;
        there = !strcmp(hybrid_runtime_isa(rt), isas[i]) && (!slow || !strcmp(hybrid_runtime_isa(NULL), isas[i]));
        hybrid_runtime_destroy(rt);
        of_isa = 0;
        for (t = slow || most < 1000 ? 2 : 0; there && t < 4; t++)
            for (s = 0; s < 3; s++) /* the scalar kernels are slow: fewer mixes */
                for (o = i && t != 2 ? 0 : 1; o < 2 && (i || t % 2 == 0); o++) {
                    if (of_isa++ >= most) continue;
                    uint64_t h = replay(path, isas[i], threads[t], steps[s], o != 0, ids, kv);
                    CHECK(h == want, "%s, %d threads, %d at a time%s: %016llx, not %016llx", isas[i], threads[t],
                          steps[s], o ? ", beside others" : "", (unsigned long long)h, (unsigned long long)want);
                    runs++;
                    if (slow && runs > 4) return;
                }
    }
    printf("  %-24s %d runs, one hash\n", name, runs);
}

int main(void)
{
    check_file("F32", "tests/oracle/data/models/llama.gguf", 0x895f0ec7cfd4f508u, HYBRID_KV_F16);
    check_file("F32, windows, norms", "tests/oracle/data/models/gemma3.gguf", 0x92bb2a86e6f42accu, HYBRID_KV_F16);
    check_file("F32, experts", "tests/oracle/data/models/qwen2moe.gguf", 0x6307c63d39ec24beu, HYBRID_KV_F16);
    check_file("F32, RWKV-7", "tests/oracle/data/models/rwkv7.gguf", 0x98f61799c6e1c699u, HYBRID_KV_F16);
    check_file("F32, short convolutions", "tests/oracle/data/models/lfm2.gguf", 0xa13f530ad30368d3u, HYBRID_KV_F16);
    check_file("Q8_0", "examples/data/stories260K-q8_0.gguf", 0x11b76476d2d85d9du, HYBRID_KV_F16);
    check_file("Q4_K", data_path("quant/models/rows-Q4_K_S.gguf"), 0xe3c5dcd87066a801u, HYBRID_KV_F16);
    return test_end();
}
