/* The state of a sequence as bytes (infer/saved.c): into another context, of other threads, another instruction set,
 * other pages; the bits with which both go on are those of a context that reads all tokens at once. And bytes that are
 * cut, damaged or another model's, sources that fail: nothing has changed then. */
#include "private.h"
#include <math.h>
#include "saved.h"

#define FOLDER "tests/oracle/data/models/"
enum { N_SEQ = 3 };

static hybrid_runtime *runtime_of(const char *isa, int threads)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.isa = isa;
    d.n_threads = threads;
    CHECK(!hybrid_runtime_create(&d, &rt, &e), "%s", e.message);
    return rt;
}

static hybrid_model *model_of(hybrid_runtime *rt, const char *path)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.path = path;
    CHECK(!hybrid_model_load(rt, &d, &m, &e), "%s", e.message);
    return m;
}

static hybrid_context *context_of(hybrid_model *m, int n_ctx, int n_batch, hybrid_kv kv)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = N_SEQ;
    d.n_batch = n_batch;
    d.kv = kv;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

/* The last tokens of saved_move, from nothing. */
static void from_nothing(hybrid_context *moved, hybrid_model *m, hybrid_kv kv, int n_vocab)
{
    hybrid_context *c = context_of(m, 160, 7, kv);
    const int first[] = { 11, 55, 5, 6, 7 }, n[] = { 40, 31, 1, 14, 27 };
    int32_t ids[160];
    hybrid_error e;
    size_t i, total = 0;
    int k;
    for (i = 0; i < sizeof n / sizeof *n; i++)
        for (k = 0; k < n[i]; k++) ids[total++] = (first[i] + k * 7) % 120 + 3;
    CHECK(!hybrid_batch_add(c, 2, ids, total, &e) && !hybrid_decode(c, &e), "%s", e.message);
    CHECK(saved_same(moved, 1, c, 2, n_vocab), "not the bits of a context that reads all at once");
    hybrid_context_destroy(c);
}

static void moves(hybrid_model *here, hybrid_model *there, hybrid_kv kv)
{
    hybrid_context *a = context_of(here, 160, 64, kv), *b = context_of(there, 192, 5, kv);
    if (a && b) {
        saved_move(a, b, here->hp.n_vocab);
        from_nothing(b, there, kv, here->hp.n_vocab);
    }
    hybrid_context_destroy(a);
    hybrid_context_destroy(b);
}

/* Heads of 32 values, which a Q8_0 cache needs: no model of the folder has them. */
static hybrid_model *wide(hybrid_runtime *rt, const char *architecture, const hybrid_tokenizer *tokenizer)
{
    hybrid_model_shape shape;
    hybrid_model *m = NULL;
    hybrid_error e;
    memset(&shape, 0, sizeof shape);
    shape.architecture = architecture;
    shape.tokenizer = tokenizer;
    shape.n_embd = 64;
    shape.n_layer = 2;
    shape.n_head = 2;
    shape.n_ctx = 160;
    CHECK(!hybrid_model_create(rt, &shape, &m, &e), "%s", e.message);
    return m;
}

static void moves_wide(hybrid_runtime *here, hybrid_runtime *there, const char *architecture)
{
    static const hybrid_kv kinds[] = { HYBRID_KV_Q8_0, HYBRID_KV_F16 };
    hybrid_model *from = model_of(here, FOLDER "gpt2.gguf");
    hybrid_model *a = wide(here, architecture, hybrid_model_tokenizer(from));
    hybrid_model *b = wide(there, architecture, hybrid_model_tokenizer(from));
    size_t i;
    for (i = 0; a && b && i < 2; i++) moves(a, b, kinds[i]);
    hybrid_model_destroy(a);
    hybrid_model_destroy(b);
    hybrid_model_destroy(from);
}

/* ---- bad days ---- */

/* Refused, with a sentence, and nothing has changed. */
static void refused(hybrid_context *c, saved_blob *b, hybrid_result expected, const char *words)
{
    const int32_t room = hybrid_context_room(c), slots = c->state.slots.n_free;
    hybrid_error e;
    const hybrid_result r = saved_read(c, 1, b, &e);
    CHECK(r, "it was read");
    CHECK(!expected || r == expected, "%d: %s", r, e.message);
    CHECK(!words || strstr(e.message, words), "'%s' is not in '%s'", words, e.message);
    CHECK(hybrid_seq_length(c, 1) == 0, "%d tokens", hybrid_seq_length(c, 1));
    CHECK(hybrid_context_room(c) == room, "%d positions are free, not %d", hybrid_context_room(c), room);
    CHECK(c->state.slots.n_free == slots, "%d slots are free, not %d", c->state.slots.n_free, slots);
}

/* Any byte of the head, of the tokens and of the sets is another: read or refused, and the context is as usable. */
static void damaged(hybrid_context *c, const saved_blob *good)
{
    const size_t head = sizeof(hyb_saved_head) + 8 * 75;
    saved_blob b = *good;
    hybrid_error e;
    size_t i;
    int bit;
    b.bytes = (unsigned char *)malloc(b.size);
    for (i = 0; i < head; i++)
        for (bit = 0; bit < 8; bit += i < sizeof(hyb_saved_head) ? 1 : 3) {
            memcpy(b.bytes, good->bytes, good->size);
            b.bytes[i] ^= (unsigned char)(1 << bit);
            if (saved_read(c, 1, &b, &e)) {
                CHECK(hybrid_seq_length(c, 1) == 0, "byte %d, bit %d: %s", (int)i, bit, e.message);
                continue;
            }
            CHECK(i >= offsetof(hyb_saved_head, length_before) && i < sizeof(hyb_saved_head) + 4 * 75,
                  "byte %d, bit %d: should be refused", (int)i, bit);
            CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
        }
    free(b.bytes);
}

static void cut_short(hybrid_context *c, const saved_blob *good)
{
    saved_blob b = *good;
    for (b.size = 0; b.size < sizeof(hyb_saved_head); b.size++) refused(c, &b, HYBRID_ERROR_FORMAT, "too few");
    for (; b.size < good->size; b.size += 1 + good->size / 50) refused(c, &b, HYBRID_ERROR_FORMAT, "truncated");
}

/* Sources and takers that fail at each of their calls. */
static void failing(hybrid_context *c, const saved_blob *good)
{
    saved_blob b = *good, out;
    long calls, i;
    hybrid_error e;
    CHECK(!saved_read(c, 1, &b, &e), "%s", e.message);
    calls = b.calls;
    for (i = 1; i <= calls; i++) {
        memset(&out, 0, sizeof out);
        out.until = i;
        CHECK(hyb_saved_write(c, 1, false, saved_put, &out, &e) == HYBRID_ERROR_IO, "call %ld", i);
        free(out.bytes);
    }
    CHECK(saved_read(c, 1, &b, &e) == HYBRID_ERROR_INVALID, "a sequence with tokens must not be written over");
    CHECK(hybrid_seq_length(c, 1) == 75, "%d", hybrid_seq_length(c, 1));
    CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    for (b.until = 1; b.until <= calls; b.until++) refused(c, &b, HYBRID_ERROR_IO, "reader failed");
}

/* Positions that were read with adapters need their names. */
static void dressed(hybrid_context *c, const saved_blob *good)
{
    static const int32_t known[] = { 0, 0, 7 };
    const size_t set = sizeof(hyb_saved_head) + 4 * 75 + 4 * 50;
    saved_blob b = *good, again;
    hybrid_error e;
    int32_t value = 2;
    b.bytes = (unsigned char *)malloc(b.size);
    memcpy(b.bytes, good->bytes, good->size);
    memcpy(b.bytes + set, &value, 4);
    refused(c, &b, HYBRID_ERROR_FORMAT, "position 50 has the adapters 2");
    CHECK(!saved_read_known(c, 1, &b, known, 3, &e), "%s", e.message);
    CHECK(c->state.sets[hyb_seq_place(&c->state.seqs[1], 50)] == known[2], "the place of a set is lost");
    c->state.sets[hyb_seq_place(&c->state.seqs[1], 50)] = 0; /* there is none */
    again = saved_of(c, 1);
    CHECK(!memcmp(again.bytes, good->bytes, b.size), "something else has changed");
    CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    free(again.bytes);
    free(b.bytes);
}

/* A state that goes from token to token, without it. */
static void bare(hybrid_context *c, const saved_blob *good)
{
    static const int32_t none[] = { 0, 0 }; /* length_before, n_slots */
    saved_blob b = *good;
    if (!c->state.slots.n) return;
    b.bytes = (unsigned char *)malloc(b.size);
    memcpy(b.bytes, good->bytes, good->size);
    memcpy(b.bytes + offsetof(hyb_saved_head, length_before), none, sizeof none);
    refused(c, &b, HYBRID_ERROR_FORMAT, "damaged");
    free(b.bytes);
}

/* Contexts of another model, of another type of cache, too small, nearly full; and a good one. */
static void bad_days(hybrid_model *m, hybrid_model *other)
{
    hybrid_context *a = context_of(m, 160, 64, HYBRID_KV_F32), *c = context_of(m, 128, 64, HYBRID_KV_F32);
    hybrid_context *f16 = context_of(m, 160, 64, HYBRID_KV_F16), *small = context_of(m, 64, 64, HYBRID_KV_F32);
    hybrid_context *foreign = context_of(other, 160, 64, HYBRID_KV_F32);
    saved_blob good, empty;
    hybrid_error e;
    empty = saved_of(a, 2);
    CHECK(!saved_read(c, 1, &empty, &e), "%s", e.message);
    CHECK(hybrid_seq_length(c, 1) == 0, "%d", hybrid_seq_length(c, 1));
    saved_decode(a, 0, 11, 71);
    saved_decode(a, 0, 17, 4);
    good = saved_of(a, 0);
    refused(foreign, &good, HYBRID_ERROR_INVALID, "another model's");
    refused(f16, &good, HYBRID_ERROR_INVALID, "as F16");
    refused(small, &good, HYBRID_ERROR_CONTEXT_FULL, "larger n_ctx");
    damaged(c, &good);
    cut_short(c, &good);
    failing(c, &good);
    dressed(c, &good);
    bare(c, &good);
    saved_decode(c, 0, 3, 96);
    saved_decode(c, 2, 3, 33);
    refused(c, &good, HYBRID_ERROR_CONTEXT_FULL, "remove sequences");
    free(good.bytes);
    free(empty.bytes);
    hybrid_context_destroy(a);
    hybrid_context_destroy(c);
    hybrid_context_destroy(f16);
    hybrid_context_destroy(small);
    hybrid_context_destroy(foreign);
}

/* Positions that the model has not learned: such a state could not be computed again. */
static void beyond_the_last(hybrid_runtime *rt)
{
    hybrid_model *m = model_of(rt, FOLDER "gpt2.gguf");
    hybrid_context *c = context_of(m, 160, 64, HYBRID_KV_F32);
    saved_blob b;
    const int32_t length = 65;
    saved_decode(c, 0, 5, 40);
    b = saved_of(c, 0);
    memcpy(b.bytes + offsetof(hyb_saved_head, length), &length, 4);
    refused(c, &b, HYBRID_ERROR_CONTEXT_FULL, "room for 64");
    free(b.bytes);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* A lasting file of many blocks, of which the disk is told now and then while more of it comes. */
static void large_file(hybrid_runtime *rt)
{
    static const char path[] = "build/saved_large.game";
    static unsigned char bytes[5000011], read[sizeof bytes + 1];
    hyb_output o;
    hybrid_error e;
    FILE *f;
    size_t i, n;
    for (i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)((i * 2654435761u) >> 13);
    CHECK(!hyb_output_open(rt, path, true, &o, &e), "%s", e.message);
    for (i = 0; i < sizeof bytes; i += n) {
        n = HYB_MIN(sizeof bytes - i, i % 3 ? 6528 : i % 7 * 300001 + 1);
        CHECK(hyb_output_write(&o, bytes + i, n), "byte %lu", (unsigned long)i);
        CHECK(!(f = fopen(path, "rb")), "it has its name already");
        if (f) fclose(f);
    }
    CHECK(!hyb_output_finish(rt, &o, &e), "%s", e.message);
    if (!(f = fopen(path, "rb"))) {
        CHECK(false, "there is no file");
        return;
    }
    n = fread(read, 1, sizeof read, f);
    fclose(f);
    CHECK(n == sizeof bytes && !memcmp(read, bytes, sizeof bytes), "%lu bytes, not %lu, or others", (unsigned long)n,
          (unsigned long)sizeof bytes);
    remove(path);
}

#include "saved_games.h"
#include "saved_sessions.h"
#include "saved_moments.h"

int main(int argc, char **argv)
{
    static const char *const names[] = { "llama", "llama-layers", "gemma2", "phi3-window", "lfm2", "rwkv7", "arwkv7" };
    hybrid_runtime *here, *there;
    hybrid_model *other;
    size_t i;
    if (argc == 4 && !strcmp(argv[1], "go on")) return games_go_on(argv[2], argv[3]);
    here = runtime_of(NULL, 2);
    there = runtime_of("generic", 1);
    other = model_of(here, FOLDER "smollm.gguf");
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        char path[96];
        hybrid_model *a, *b;
        snprintf(path, sizeof path, FOLDER "%s.gguf", names[i]);
        TEST(names[i]);
        a = model_of(here, path);
        b = model_of(there, path);
        if (a && b) {
            if (test_wanted_as("moves %s, F16", names[i])) moves(a, b, HYBRID_KV_F16);
            if (test_wanted_as("moves %s, F32", names[i])) moves(a, b, HYBRID_KV_F32);
            if ((!strcmp(names[i], "llama") || a->hp.arch->mixer != HYB_PART_ATTENTION) &&
                test_wanted_as("bad days of %s", names[i]))
                bad_days(a, other);
        }
        hybrid_model_destroy(a);
        hybrid_model_destroy(b);
    }
    TEST("heads of 32");
    PART(moves_wide(here, there, "llama"));
    PART(moves_wide(here, there, "gpt2"));
    TEST("learned positions");
    PART(beyond_the_last(here));
    TEST("a large file");
    PART(large_file(here));
    games(here, there, argv[0]);
    sessions(here, there);
    moments(here, there);
    hybrid_model_destroy(other);
    hybrid_runtime_destroy(here);
    hybrid_runtime_destroy(there);
    return test_end();
}
