/* saved_games: saved sequences as programs see them (api/saved.h): every way out and in, every byte damaged, adapters,
 * another process, and files that older versions have written. */
#ifndef SAVED_GAMES_H
#define SAVED_GAMES_H
#ifndef _WIN32
    #include <sys/wait.h>
#endif

#define OLD_GAMES "tests/data/saved/"

static hybrid_target into(saved_blob *b)
{
    hybrid_target to;
    memset(&to, 0, sizeof to);
    to.write = saved_put;
    to.user = b;
    return to;
}
static hybrid_source out_of(saved_blob *b)
{
    hybrid_source from;
    memset(&from, 0, sizeof from);
    from.reader.read_at = saved_get;
    from.reader.size = b->size;
    from.reader.user = b;
    b->calls = 0;
    return from;
}

/* As many bytes as were promised. */
static saved_blob game_of(hybrid_context *c, int32_t seq, const hybrid_save_desc *d)
{
    saved_blob b;
    hybrid_target to = into(&b);
    hybrid_error e;
    memset(&b, 0, sizeof b);
    CHECK(!hybrid_seq_save(c, seq, d, &to, &e), "%s", e.message);
    CHECK(b.size && b.size == hybrid_seq_save_size(c, seq, d), "%lu bytes, not %lu", (unsigned long)b.size,
          (unsigned long)hybrid_seq_save_size(c, seq, d));
    return b;
}
static hybrid_result game_load(hybrid_context *c, int32_t seq, const hybrid_save_desc *d, saved_blob *b,
                               hybrid_error *e)
{
    const hybrid_source from = out_of(b);
    return hybrid_seq_load(c, seq, d, &from, e);
}

/* Refused, with a sentence, and nothing has changed. */
static void game_refused(hybrid_context *c, const hybrid_save_desc *d, saved_blob *b, hybrid_result expected,
                         const char *words)
{
    const int32_t room = hybrid_context_room(c), slots = c->state.slots.n_free, worn = c->worn.seq[1];
    hybrid_error e;
    const hybrid_result r = game_load(c, 1, d, b, &e);
    CHECK(r && (!expected || r == expected), "%d: %s", r, r ? e.message : "it was loaded");
    if (!r) return;
    CHECK(!words || strstr(e.message, words), "'%s' is not in '%s'", words, e.message);
    CHECK(hybrid_seq_length(c, 1) == 0, "%d tokens", hybrid_seq_length(c, 1));
    CHECK(hybrid_context_room(c) == room && c->state.slots.n_free == slots && c->worn.seq[1] == worn,
          "%d positions and %d slots are free", hybrid_context_room(c), c->state.slots.n_free);
}

/* The same bytes by a callback, into memory and into a file; back by all three. */
static void game_ways(hybrid_context *a, hybrid_context *b)
{
    static const char path[] = "build/saved.game";
    saved_blob one = game_of(a, 0, NULL);
    hybrid_target to;
    hybrid_source from;
    hybrid_error e;
    size_t size = 0;
    char *memory = (char *)malloc(one.size), *file;
    memset(&to, 0, sizeof to);
    to.data = memory;
    to.capacity = one.size - 1;
    CHECK(hybrid_seq_save(a, 0, NULL, &to, &e) == HYBRID_ERROR_LIMIT && strstr(e.message, "bytes are needed"), "%s",
          e.message);
    to.capacity = one.size;
    CHECK(!hybrid_seq_save(a, 0, NULL, &to, &e), "%s", e.message);
    CHECK(!memcmp(memory, one.bytes, one.size), "memory has other bytes");
    to.path = path;
    CHECK(hybrid_seq_save(a, 0, NULL, &to, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "exactly one"), "two ways");
    to.data = NULL;
    CHECK(!hybrid_seq_save(a, 0, NULL, &to, &e), "%s", e.message);
    file = read_file(path, &size);
    CHECK(file && size == one.size && !memcmp(file, one.bytes, size), "the file has other bytes");
    memset(&from, 0, sizeof from);
    from.path = path;
    CHECK(!hybrid_seq_load(b, 1, NULL, &from, &e), "%s", e.message);
    CHECK(hybrid_seq_load(b, 1, NULL, &from, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "remove them"), "%s",
          e.message);
    CHECK(!hybrid_seq_remove(b, 1, 0, &e), "%s", e.message);
    from.path = NULL;
    from.data = memory;
    from.size = one.size;
    CHECK(!hybrid_seq_load(b, 1, NULL, &from, &e), "%s", e.message);
    CHECK(!hybrid_seq_remove(b, 1, 0, &e), "%s", e.message);
    to.path = "build/no/such/folder/x";
    CHECK(hybrid_seq_save(a, 0, NULL, &to, &e) == HYBRID_ERROR_IO, "%s", e.message);
    from.data = NULL;
    from.path = "build/no/such/folder/x";
    CHECK(hybrid_seq_load(b, 1, NULL, &from, &e) == HYBRID_ERROR_IO, "%s", e.message);
    remove(path);
    free(file);
    free(memory);
    free(one.bytes);
}

/* A game and one without its cache go on with the bits of the sequence that was saved. */
static void game_goes_on(hybrid_context *a, hybrid_context *b, int n_vocab, bool recompute)
{
    hybrid_save_desc d;
    saved_blob game;
    hybrid_error e;
    int i;
    memset(&d, 0, sizeof d);
    d.recompute = recompute;
    CHECK(!hybrid_seq_remove(a, 0, 0, &e) && !hybrid_seq_remove(b, 0, 0, &e) && !hybrid_seq_remove(b, 1, 0, &e), "%s",
          e.message);
    saved_decode(b, 0, 99, 37);
    saved_decode(a, 0, 7, 61);
    game = game_of(a, 0, &d);
    if (recompute) CHECK(game.size < 61 * 8 + 256, "%lu bytes", (unsigned long)game.size);
    CHECK(!game_load(b, 1, NULL, &game, &e), "%s", e.message);
    CHECK(hybrid_seq_length(b, 1) == 61, "%d tokens", hybrid_seq_length(b, 1));
    for (i = 0; i < 3; i++) {
        saved_decode(a, 0, 5 + i, 1 + 13 * i);
        saved_decode(b, 1, 5 + i, 1 + 13 * i);
        CHECK(saved_same(a, 0, b, 1, n_vocab), "other bits after %d decodes, recompute %d", i + 1, recompute);
    }
    free(game.bytes);
}

/* Any byte is another, any is missing, there is one too many: found, each of them. */
static void game_damaged(hybrid_context *a, hybrid_context *c)
{
    hybrid_save_desc d;
    saved_blob good, b;
    hybrid_error e;
    size_t i;
    memset(&d, 0, sizeof d);
    CHECK(!hybrid_seq_remove(a, 0, 0, &e) && !hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    saved_decode(a, 0, 20, 9);
    for (d.recompute = false;; d.recompute = true) {
        good = game_of(a, 0, &d);
        b = good;
        b.bytes = (unsigned char *)malloc(b.size + 1);
        memcpy(b.bytes, good.bytes, good.size);
        for (i = 0; i < b.size; i++) {
            b.bytes[i] ^= (unsigned char)(1 << i % 8);
            game_refused(c, NULL, &b, HYBRID_OK, NULL);
            b.bytes[i] ^= (unsigned char)(1 << i % 8);
        }
        for (b.size = 0; b.size < good.size; b.size += 1 + (b.size > 200) * (good.size / 99))
            game_refused(c, NULL, &b, HYBRID_ERROR_FORMAT, b.size < 40 ? "too few" : "truncated");
        b.bytes[good.size] = 0;
        b.size = good.size + 1;
        game_refused(c, NULL, &b, HYBRID_ERROR_FORMAT, "damaged");
        b.size = good.size;
        CHECK(!game_load(c, 1, NULL, &b, &e), "%s", e.message);
        CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
        free(b.bytes);
        free(good.bytes);
        if (d.recompute) break;
    }
}

/* Takers and sources that fail at each of their calls. */
static void game_fails(hybrid_context *a, hybrid_context *c)
{
    saved_blob good = game_of(a, 0, NULL), b;
    hybrid_target to = into(&b);
    hybrid_error e;
    const long calls = good.calls;
    long i;
    for (i = 1; i <= calls; i++) {
        memset(&b, 0, sizeof b);
        b.until = i;
        CHECK(hybrid_seq_save(a, 0, NULL, &to, &e) == HYBRID_ERROR_IO && strstr(e.message, "refused"), "%ld: %s", i,
              e.message);
        free(b.bytes);
    }
    CHECK(!game_load(c, 1, NULL, &good, &e), "%s", e.message);
    CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    for (i = good.calls; i > 0; i--) {
        good.until = i;
        game_refused(c, NULL, &good, HYBRID_ERROR_IO, "failed");
    }
    free(good.bytes);
}

/* ---- whose it is ---- */

/* A model's file in memory, in which the byte `at` bytes after a key is another; at < 0: as it is. */
static hybrid_model *changed(hybrid_runtime *rt, const char *path, const char *key, int at, char **bytes)
{
    size_t size = 0, i;
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    const size_t n = strlen(key);
    memset(&d, 0, sizeof d);
    *bytes = read_file(path, &size);
    for (i = 0; *bytes && i + n < size && memcmp(*bytes + i, key, n); i++) {}
    CHECK(*bytes && i + n < size, "'%s' is not in %s", key, path);
    if (*bytes && i + n < size && at >= 0) (*bytes)[i + n + (size_t)at] ^= 1;
    d.source.data = *bytes;
    d.source.size = size;
    CHECK(!hybrid_model_load(rt, &d, &m, &e), "%s", e.message);
    return m;
}

static void moves_to(hybrid_model *m, hybrid_model *there, bool taken)
{
    hybrid_context *a = context_of(m, 64, 8, HYBRID_KV_F16), *b = context_of(there, 64, 8, HYBRID_KV_F16);
    hybrid_context *kv = context_of(there, 64, 8, HYBRID_KV_F32), *small = context_of(there, 16, 8, HYBRID_KV_F16);
    saved_blob game, newer;
    hybrid_error e;
    saved_decode(a, 0, 3, 30);
    game = game_of(a, 0, NULL);
    if (taken) {
        CHECK(!game_load(b, 1, NULL, &game, &e), "%s", e.message);
        game_refused(kv, NULL, &game, HYBRID_ERROR_INVALID, "as F32");
        game_refused(small, NULL, &game, HYBRID_ERROR_CONTEXT_FULL, "larger n_ctx");
        newer = game;
        newer.bytes = (unsigned char *)malloc(game.size);
        memcpy(newer.bytes, game.bytes, game.size);
        newer.bytes[8]++;
        game_refused(kv, NULL, &newer, HYBRID_ERROR_UNSUPPORTED, "take a newer hybrid");
        newer.bytes[8]--;
        newer.bytes[0] ^= 1;
        game_refused(kv, NULL, &newer, HYBRID_ERROR_FORMAT, "no saved game");
        free(newer.bytes);
    } else
        game_refused(b, NULL, &game, HYBRID_ERROR_INVALID, "another model's");
    free(game.bytes);
    hybrid_context_destroy(a);
    hybrid_context_destroy(b);
    hybrid_context_destroy(kv);
    hybrid_context_destroy(small);
}

/* A model is known by what it computes, wherever its file lies. */
static void whose(hybrid_runtime *rt)
{
    static const char path[] = FOLDER "llama.gguf";
    char *bytes_of[3];
    hybrid_model *m = model_of(rt, path), *same = changed(rt, path, "general.name", -1, &bytes_of[0]);
    hybrid_model *renamed = changed(rt, path, "general.name", 12, &bytes_of[1]);
    hybrid_model *other = changed(rt, path, "llama.rope.freq_base", 5, &bytes_of[2]);
    const hyb_tensor *t = &m->weights.tensors[m->weights.n_tensors - 1];
    const uint64_t id = hyb_model_identity(m);
    const size_t bytes = t->nb[3];
    float was;
    size_t i;
    CHECK(id && id == hyb_model_identity(same), "in memory it is another model");
    CHECK(id == hyb_model_identity(m), "asked again, it is another model");
    CHECK(id == hyb_model_identity(renamed), "a name counts");
    CHECK(id != hyb_model_identity(other), "a key does not count");
    moves_to(m, renamed, true);
    moves_to(m, other, false);
    same->trainable = true; /* its hash is computed each time */
    same->identity = 0;
    t = &same->weights.tensors[same->weights.n_tensors - 1];
    for (i = 0; i < 2; i++) {
        float *value = (float *)((char *)(uintptr_t)t->data + (i ? bytes - 4 : 0));
        was = *value;
        *value = 0.123f;
        CHECK(id != hyb_model_identity(same), "byte %lu of a tensor does not count",
              (unsigned long)(i ? bytes - 4 : 0));
        *value = was;
    }
    CHECK(id == hyb_model_identity(same), "it is not what it was");
    hybrid_model_destroy(m);
    hybrid_model_destroy(same);
    hybrid_model_destroy(renamed);
    hybrid_model_destroy(other);
    for (i = 0; i < 3; i++) free(bytes_of[i]);
}

/* ---- adapters ---- */

static hybrid_adapter *game_adapter(hybrid_model *m, int rank, unsigned seed)
{
    static const char *const all = "all";
    hybrid_adapter_desc d;
    hybrid_adapter *a = NULL;
    hybrid_error e;
    size_t i;
    memset(&d, 0, sizeof d);
    d.targets = &all;
    d.n_targets = 1;
    d.rank = rank;
    d.seed = 5;
    CHECK(!hybrid_adapter_create(m, &d, &a, &e), "%s", e.message);
    for (i = 0; a && i < a->n_values; i++) {
        seed = seed * 1664525u + 1013904223u;
        a->values[i] = 0.05f * (float)((int)(seed >> 8) % 2001 - 1000) / 1000;
    }
    CHECK(!hyb_adapter_changed(a, &e), "%s", e.message);
    return a;
}

static void wear(hybrid_context *c, int32_t seq, hybrid_adapter *a, hybrid_adapter *b)
{
    hybrid_adapter *list[2];
    const float scales[] = { 1, 0.5f };
    hybrid_error e;
    list[0] = a ? a : b;
    list[1] = b;
    CHECK(!hybrid_seq_set_adapters(c, seq, list, a ? scales : scales + 1, (size_t)(a != NULL) + (b != NULL), &e), "%s",
          e.message);
}

/* Tokens that were read with nothing, with one adapter, with both, and worn: the other one. */
static void worn_game(hybrid_model *here, hybrid_model *there)
{
    hybrid_context *a = context_of(here, 160, 64, HYBRID_KV_F16), *b = context_of(there, 160, 5, HYBRID_KV_F16);
    hybrid_adapter *x[2], *y[3];
    hybrid_named_adapter mine[2], yours[3];
    hybrid_save_desc out, in;
    saved_blob game;
    hybrid_error e;
    int i, k;
    memset(&out, 0, sizeof out);
    memset(&in, 0, sizeof in);
    for (i = 0; i < 2; i++) x[i] = game_adapter(here, 4 + 4 * i, 7u + (unsigned)i);
    for (i = 0; i < 3; i++) y[i] = game_adapter(there, 4 + 4 * (i % 2), 7u + (unsigned)i);
    mine[0].id = "smith";
    mine[0].adapter = x[0];
    mine[1].id = NULL;
    mine[1].adapter = x[1];
    out.adapters = mine;
    out.n_adapters = 2;
    yours[0].id = "guard";
    yours[0].adapter = y[1];
    yours[1].id = "smith";
    yours[1].adapter = y[0];
    yours[2].id = "smith";
    yours[2].adapter = y[2];
    wear(a, 2, x[1], NULL); /* others have sets, too */
    wear(b, 0, NULL, y[1]);
    saved_decode(a, 0, 11, 20);
    wear(a, 0, x[0], NULL);
    saved_decode(a, 0, 31, 25);
    wear(a, 0, x[0], x[1]);
    saved_decode(a, 0, 41, 9);
    wear(a, 0, NULL, x[1]);
    for (k = 0; k < 2; k++) {
        out.recompute = k == 1;
        game = game_of(a, 0, &out);
        in.adapters = yours;
        in.n_adapters = 0;
        game_refused(b, &in, &game, HYBRID_ERROR_NOT_FOUND, "'smith' of rank 4: give it");
        in.adapters = yours + 2;
        in.n_adapters = 1;
        game_refused(b, &in, &game, HYBRID_ERROR_NOT_FOUND, "has other values");
        in.adapters = yours + 1;
        in.n_adapters = 1;
        game_refused(b, &in, &game, HYBRID_ERROR_NOT_FOUND, "'' of rank 8: give it");
        in.adapters = yours;
        in.n_adapters = 3;
        CHECK(!game_load(b, 1, &in, &game, &e), "%s", e.message);
        free(game.bytes);
        for (i = 0; i < 2; i++) {
            if (k == 0) saved_decode(a, 0, 3 + i, 5);
            if (k == 0) saved_decode(b, 1, 3 + i, 5);
            if (k == 0) CHECK(saved_same(a, 0, b, 1, here->hp.n_vocab), "other bits after %d decodes", i + 1);
        }
        if (k == 1) saved_decode(a, 0, 9, 5);
        if (k == 1) saved_decode(b, 1, 9, 5);
        if (k == 1) CHECK(saved_same(a, 0, b, 1, here->hp.n_vocab), "computed again, other bits");
        CHECK(!hybrid_seq_remove(b, 1, 0, &e), "%s", e.message);
        wear(b, 1, NULL, NULL);
        CHECK(b->worn.n_sets < 6, "%d sets: those of failures stay", b->worn.n_sets);
    }
    mine[1].adapter = y[0];
    CHECK(!hybrid_seq_save_size(a, 0, &out), "an adapter of another model");
    hybrid_context_destroy(a);
    hybrid_context_destroy(b);
    for (i = 0; i < 2; i++) CHECK(x[i]->references == 1, "%lu still hold it", (unsigned long)x[i]->references);
    for (i = 0; i < 3; i++) CHECK(y[i]->references == 1, "%lu still hold it", (unsigned long)y[i]->references);
    for (i = 0; i < 2; i++) hybrid_adapter_destroy(x[i]);
    for (i = 0; i < 3; i++) hybrid_adapter_destroy(y[i]);
}

/* ---- in the middle of something ---- */

typedef struct meddler {
    hybrid_context *c;
    int refused, calls;
} meddler;
static bool meddle(void *user, const void *data, size_t n)
{
    meddler *m = (meddler *)user;
    hybrid_error e;
    (void)data;
    (void)n;
    m->calls++;
    m->refused += hybrid_seq_remove(m->c, 0, 0, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in use") != NULL &&
                  !hybrid_seq_save_size(m->c, 0, NULL);
    return true;
}

/* A decode is under way, in each of its units: what is saved is what was there before, and both go on. */
static void under_way(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 160, 8, HYBRID_KV_F16);
    int32_t ids[20], i;
    saved_blob before, b;
    hybrid_target to;
    hybrid_error e;
    meddler who;
    bool done = false;
    for (i = 0; i < 20; i++) ids[i] = 5 + 3 * i;
    saved_decode(c, 0, 5, 41);
    before = game_of(c, 0, NULL);
    CHECK(!hybrid_batch_add(c, 0, ids, 20, &e), "%s", e.message);
    for (i = 0; !done; i++) {
        CHECK(!hybrid_decode_step(c, 0, &done, &e), "%s", e.message);
        if (done) break;
        b = game_of(c, 0, NULL);
        CHECK(m->hp.arch->mixer != HYB_PART_ATTENTION ||
                  (b.size == before.size && !memcmp(b.bytes, before.bytes, b.size)),
              "after %d units other bytes", i);
        if (i == 1) game_refused(c, NULL, &b, HYBRID_ERROR_INVALID, "under way");
        free(b.bytes);
    }
    CHECK(i > 4, "%d units", i);
    CHECK(!hybrid_seq_remove(c, 1, 0, &e) && !game_load(c, 1, NULL, &before, &e), "%s", e.message);
    CHECK(!hybrid_batch_add(c, 1, ids, 20, &e), "%s", e.message);
    CHECK(game_load(c, 1, NULL, &before, &e) == HYBRID_ERROR_INVALID, "into a sequence with tokens");
    CHECK(!hybrid_decode(c, &e), "%s", e.message);
    b = game_of(c, 1, NULL);
    free(before.bytes);
    before = game_of(c, 0, NULL);
    CHECK(b.size == before.size && !memcmp(b.bytes, before.bytes, b.size), "it went on with other bytes");
    CHECK(!hybrid_seq_remove(c, 1, 0, &e) && !hybrid_batch_add(c, 1, ids, 3, &e), "%s", e.message);
    CHECK(game_load(c, 1, NULL, &b, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in the batch"), "%s", e.message);
    memset(&who, 0, sizeof who);
    memset(&to, 0, sizeof to);
    who.c = c;
    to.write = meddle;
    to.user = &who;
    CHECK(!hybrid_seq_save(c, 0, NULL, &to, &e), "%s", e.message);
    CHECK(who.calls > 3 && who.refused == who.calls, "%d of %d calls were refused", who.refused, who.calls);
    CHECK(hybrid_seq_save(c, N_SEQ, NULL, &to, &e) == HYBRID_ERROR_INVALID, "there is no such sequence");
    CHECK(!hybrid_seq_save_size(c, N_SEQ, NULL), "there is no such sequence");
    free(b.bytes);
    free(before.bytes);
    hybrid_context_destroy(c);
}

/* ---- another process ---- */

static uint64_t hash_of(const float *logits, int n)
{
    hyb_hash_key key;
    key.k0 = key.k1 = 1;
    return logits ? hyb_hash(&key, logits, sizeof *logits * (size_t)n) : 0;
}

/* Loads a game, goes on, and says what came out. */
static int games_go_on(const char *model, const char *game)
{
    hybrid_runtime *rt = runtime_of("generic", 1);
    hybrid_model *m = model_of(rt, model);
    hybrid_context *c = context_of(m, 100, 3, HYBRID_KV_F16);
    hybrid_source from;
    hybrid_error e;
    memset(&from, 0, sizeof from);
    from.path = game;
    CHECK(!hybrid_seq_load(c, 2, NULL, &from, &e), "%s", e.message);
    saved_decode(c, 2, 77, 6);
    printf("hash %016llx\n", (unsigned long long)hash_of(hybrid_logits(c, 2), m->hp.n_vocab));
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    return check_failed != 0;
}

static void another_process(hybrid_model *m, const char *path, const char *program)
{
    hybrid_context *c = context_of(m, 160, 64, HYBRID_KV_F16);
    char line[512], expected[64], *said;
    hybrid_target to;
    hybrid_error e;
    memset(&to, 0, sizeof to);
    to.path = "build/saved_other.game";
    saved_decode(c, 0, 5, 70);
    CHECK(!hybrid_seq_save(c, 0, NULL, &to, &e), "%s", e.message);
    saved_decode(c, 0, 77, 6);
    snprintf(expected, sizeof expected, "hash %016llx",
             (unsigned long long)hash_of(hybrid_logits(c, 0), m->hp.n_vocab));
    snprintf(line, sizeof line, "%s \"go on\" %s build/saved_other.game >build/saved_other.txt", program, path);
    CHECK(!system(line), "%s", line);
    said = read_file("build/saved_other.txt", NULL);
    CHECK(said && strstr(said, expected), "the other process: %s, and here %s", said ? said : "nothing", expected);
    free(said);
    hybrid_context_destroy(c);
}

/* ---- files of older versions, which every later one reads ---- */

typedef struct old_game {
    const char *file, *model;
    int length;
} old_game;

/* How they were made: HYBRID_MAKE_SAVED=1 build/.../test_saved, by the version that first wrote them. They are not made
 * again when the format gets a new version: a row is added. */
static void old_games(hybrid_runtime *rt)
{
    static const old_game list[] = { { "llama-1.game", "llama.gguf", 21 },
                                     { "lfm2-1.game", "lfm2.gguf", 12 },
                                     { "llama-tokens-1.game", "llama.gguf", 40 } };
    size_t i;
    for (i = 0; i < sizeof list / sizeof *list; i++) {
        char model[96], path[96];
        hybrid_model *m;
        hybrid_context *a, *b;
        hybrid_source from;
        hybrid_error e;
        const float *x, *y;
        int32_t k;
        double apart = 0, most = 0;
        snprintf(model, sizeof model, FOLDER "%s", list[i].model);
        snprintf(path, sizeof path, OLD_GAMES "%s", list[i].file);
        TEST(list[i].file);
        m = model_of(rt, model);
        a = context_of(m, 96, 64, HYBRID_KV_F16);
        b = context_of(m, 96, 64, HYBRID_KV_F16);
        saved_decode(a, 0, 5, list[i].length);
        if (getenv("HYBRID_MAKE_SAVED")) {
            hybrid_save_desc d;
            hybrid_target to;
            memset(&d, 0, sizeof d);
            memset(&to, 0, sizeof to);
            d.recompute = strstr(path, "tokens") != NULL;
            to.path = path;
            CHECK(!hybrid_seq_save(a, 0, &d, &to, &e), "%s", e.message);
        }
        memset(&from, 0, sizeof from);
        from.path = path;
        CHECK(!hybrid_seq_load(b, 1, NULL, &from, &e), "%s", e.message);
        CHECK(hybrid_seq_length(b, 1) == list[i].length, "%d tokens", hybrid_seq_length(b, 1));
        for (k = 0; k < list[i].length && k < hybrid_seq_length(b, 1); k++)
            CHECK(*hyb_seq_id(&b->state, &b->state.seqs[1], k) == *hyb_seq_id(&a->state, &a->state.seqs[0], k),
                  "token %d is another", k);
        saved_decode(a, 0, 33, 2);
        saved_decode(b, 1, 33, 2);
        x = hybrid_logits(a, 0);
        y = hybrid_logits(b, 1);
        for (k = 0; x && y && k < m->hp.n_vocab; k++) { /* a later version may compute in another order */
            apart = HYB_MAX(apart, fabs((double)x[k] - (double)y[k]));
            most = HYB_MAX(most, fabs((double)x[k]));
        }
        CHECK(x && y && most > 0 && apart <= 2e-3 * most, "%g of %g apart", apart, most);
        hybrid_context_destroy(a);
        hybrid_context_destroy(b);
        hybrid_model_destroy(m);
    }
}

static void games(hybrid_runtime *here, hybrid_runtime *there, const char *program)
{
    static const char *const names[] = { "llama", "lfm2", "rwkv7" };
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        char path[96];
        hybrid_model *m, *n;
        hybrid_context *a, *b;
        if (!test_wanted_as("games of %s", names[i])) continue;
        snprintf(path, sizeof path, FOLDER "%s.gguf", names[i]);
        TEST(names[i]);
        m = model_of(here, path);
        n = model_of(there, path);
        a = context_of(m, 160, 64, HYBRID_KV_F16);
        b = context_of(n, 192, 5, HYBRID_KV_F16);
        game_goes_on(a, b, m->hp.n_vocab, false);
        game_goes_on(a, b, m->hp.n_vocab, true);
        game_damaged(a, b);
        game_ways(a, b);
        game_fails(a, b);
        hybrid_context_destroy(a);
        hybrid_context_destroy(b);
        TEST("a decode under way");
        under_way(m);
        TEST("adapters of a saved game");
        worn_game(m, n);
        TEST("another process");
        if (program) another_process(m, path, program);
        hybrid_model_destroy(m);
        hybrid_model_destroy(n);
    }
    if (test_wanted("games of mixtral")) {
        hybrid_model *m = model_of(here, FOLDER "mixtral.gguf"), *n = model_of(there, FOLDER "mixtral.gguf");
        TEST("adapters of experts of a saved game");
        worn_game(m, n);
        hybrid_model_destroy(m);
        hybrid_model_destroy(n);
    }
    TEST("whose it is");
    whose(here);
    old_games(here);
}
#endif
