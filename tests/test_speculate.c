/* Speculation: whatever is guessed, tokens, log-probabilities, text and the reason of the end are those of a stream
 * that guesses nothing, bit for bit: models of many kinds, samplers, forms, slices, crowds, and where room ends. */
#include "interface.h"
#include "speculation.h"

static void check_model(const char *path, int samplers)
{
    static answer want[2], got[2];
    static const uint64_t budgets[] = { UINT64_MAX, 0, 300 };
    hybrid_model *m = model_of(path);
    hybrid_stream_desc d;
    int i, k, t;
    if (!m) return;
    memset(&d, 0, sizeof d);
    d.logprobs = true;
    d.max_tokens = 45;
    n_guessed = n_right = 0;
    for (i = 0; i < samplers; i++) {
        d.sampler = sampler_of(i);
        d.speculation = HYBRID_SPECULATION_OFF;
        d.n_guess = 0;
        turns(m, &d, UINT64_MAX, want);
        CHECK(!want[0].info.n_guessed && !want[1].info.n_guessed, "nothing is guessed");
        for (k = 0; k < 5; k++) {
            d.speculation = k == 4 ? HYBRID_SPECULATION_AUTO : HYBRID_SPECULATION_ALWAYS;
            d.n_guess = k == 1 ? 1 : k == 2 ? 40 : 5;
            turns(m, &d, budgets[k % 3], got);
            for (t = 0; t < 2; t++) compare(&got[t], &want[t], path, 100 * i + 10 * k + t);
        }
    }
    CHECK(n_guessed > n_right && n_right > 20, "%s: %d of %d guesses are right", path, (int)n_right, (int)n_guessed);
    hybrid_model_destroy(m);
}

/* ---- a text that repeats: nearly all is guessed, in few pieces ---- */

static void it_pays(hybrid_model *m)
{
    static answer want, got;
    hybrid_stream_desc d;
    hybrid_context *c = context_of(m, 512, 1, 16);
    hybrid_stream *s;
    hybrid_error e;
    int32_t ids[64], i;
    TEST("a text that repeats");
    memset(&d, 0, sizeof d);
    d.logprobs = true;
    d.max_tokens = 200;
    for (i = 0; i < 64; i++) ids[i] = 100 + i % 4;
    for (i = 0; i < 2; i++) {
        hybrid_logit_bias bias[4] = { { 100, 60 }, { 101, 60 }, { 102, 60 }, { 103, 60 } };
        d.sampler.bias = bias;
        d.sampler.n_bias = 4;
        d.speculation = i ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
        s = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(s, ids, 64, &e), "%s", e.message);
        read_all(s, UINT64_MAX, i ? &got : &want);
        hybrid_stream_destroy(s);
    }
    compare(&got, &want, "repeats", 0);
    CHECK(got.info.n_right > 120 && got.pieces < want.pieces / 2, "%d of %d guesses are right, %d pieces, not %d",
          got.info.n_right, got.info.n_guessed, got.pieces, want.pieces);
    hybrid_context_destroy(c);
}

/* ---- a text that is written again with other names: guesses go on one token after each of them ---- */

enum { NAMES = 10, EACH = 8 }; /* of so many tokens one is a name */

static void other_names(hybrid_model *m)
{
    static answer want, got;
    static script s;
    hybrid_stream_desc d;
    hybrid_context *c = context_of(m, 512, 1, 16);
    hybrid_stream *stream;
    hybrid_error e;
    int32_t ids[NAMES * EACH], i;
    TEST("a text with other names");
    for (i = 0; i < NAMES * EACH; i++) { /* all different */
        ids[i] = 300 + i * 37 % 200;
        s.ids[i] = i % EACH == 3 ? 500 + i / EACH : ids[i];
    }
    memset(&d, 0, sizeof d);
    d.logprobs = true;
    d.max_tokens = NAMES * EACH;
    d.sampler.function = as_written;
    d.sampler.function_user = &s;
    d.sampler.n_function = 512;
    for (i = 0; i < 2; i++) {
        s.at = 0;
        d.speculation = i ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
        stream = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(stream, ids, NAMES * EACH, &e), "%s", e.message);
        read_all(stream, UINT64_MAX, i ? &got : &want);
        hybrid_stream_destroy(stream);
    }
    compare(&got, &want, "other names", 0);
    CHECK(!memcmp(got.ids, s.ids, sizeof s.ids), "the answer is another one");
    /* of each EACH tokens the name and the one after it are no guesses: with two tokens that must match, one more */
    CHECK(got.info.n_right >= NAMES * (EACH - 2) - EACH, "%d of %d guesses are right", got.info.n_right,
          got.info.n_guessed);
    hybrid_context_destroy(c);
}

/* ---- room ---- */

/* Two streams of one context, by turns, until it is full: guesses take nothing from the other. */
static void until_full(hybrid_model *m, int32_t n_ctx, hybrid_speculation how, answer a[2])
{
    hybrid_context *c = context_of(m, n_ctx, 2, how == HYBRID_SPECULATION_OFF ? 0 : 9);
    hybrid_stream *s[2];
    hybrid_stream_desc d;
    hybrid_piece p;
    hybrid_error e;
    int32_t ids[64];
    bool on[2] = { true, true };
    int i;
    memset(&d, 0, sizeof d);
    memset(a, 0, 2 * sizeof *a);
    d.logprobs = true;
    d.speculation = how;
    d.n_guess = 7;
    d.seq = -1;
    for (i = 0; i < 2; i++) {
        const int32_t n = pattern(ids, 20, model_info(m).n_vocab, 5 + (uint32_t)i);
        d.sampler = sampler_of(i);
        d.max_positions = i ? 0 : n_ctx / 2 - 3;
        s[i] = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(s[i], ids, (size_t)n, &e), "%s", e.message);
    }
    while (on[0] || on[1])
        for (i = 0; i < 2; i++) {
            if (!on[i]) continue;
            CHECK(!hybrid_stream_next(s[i], &p, &e), "%s", e.message);
            on[i] = take(&a[i], &p);
        }
    for (i = 0; i < 2; i++) hybrid_stream_describe(s[i], &a[i].info);
    for (i = 0; i < 2; i++) n_guessed += a[i].info.n_guessed;
    for (i = 0; i < 2; i++) hybrid_stream_destroy(s[i]);
    CHECK(hybrid_context_room(c) >= n_ctx, "all pages are free again");
    hybrid_context_destroy(c);
}

static void full(hybrid_model *m)
{
    static answer want[2], got[2];
    int32_t n;
    TEST("a context that gets full");
    for (n = 90; n < 200; n += 17) {
        n_guessed = 0;
        until_full(m, n, HYBRID_SPECULATION_OFF, want);
        until_full(m, n, HYBRID_SPECULATION_ALWAYS, got);
        compare(&got[0], &want[0], "the first", n);
        CHECK(got[0].stop == HYBRID_STOP_CONTEXT && got[1].stop, "full");
        CHECK(n_guessed > 0, "nothing was guessed");
    }
}

/* ---- forms ---- */

static const char schema[] =
    "{\"type\": \"array\", \"minItems\": 4, \"maxItems\": 4, \"items\": {\"type\": \"object\", \"properties\": {"
    "\"first_name\": {\"enum\": [\"Lily\", \"Tim\", \"Sue\"]}, \"year_of_birth\": {\"type\": \"integer\", "
    "\"minimum\": 1900, \"maximum\": 2000}}, \"required\": [\"first_name\", \"year_of_birth\"], "
    "\"additionalProperties\": false}}";

static void say(hybrid_session *s, int how, uint64_t budget_us, char *text, hybrid_session_info *info)
{
    hybrid_answer_desc a;
    hybrid_piece p;
    memset(&a, 0, sizeof a);
    a.begin = "Once";
    if (how == 0) CHECK(!hybrid_session_say_json(s, "Who?", schema), "json");
    if (how == 1) CHECK(!hybrid_session_answer(s, "Tell it. Tell it. Tell it. Tell", &a), "an answer");
    if (how == 2) CHECK(!hybrid_session_complete(s, "Tim and Lily. Tim and Lily. Tim and"), "a text");
    *text = 0;
    do {
        CHECK(!hybrid_session_step(s, budget_us, &p), "a step");
        strcat(text, p.text);
    } while (!p.stop);
    hybrid_session_describe(s, info);
}

static hybrid_session *session_of(hybrid_model *m, hybrid_session_desc d)
{
    hybrid_session *s = NULL;
    hybrid_error e;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    return s;
}

static void sessions(hybrid_model *m)
{
    static const char *const stops[] = { " day", "!" };
    static char want[6][8192], got[8192];
    hybrid_session_info info, plain[6];
    hybrid_session_desc d;
    hybrid_session *s;
    int i, k, guessed = 0, right = 0;
    TEST("sessions, forms, stop texts");
    memset(&d, 0, sizeof d);
    d.stops = stops;
    d.n_stops = 2;
    d.max_tokens = 150;
    d.context.n_ctx = 1500;
    d.sample_forced = true; /* so that they are guesses */
    for (k = 0; k < 5; k++) {
        d.sampler.temperature = 0.7f;
        d.sampler.seed = 3;
        d.speculation = k == 0   ? HYBRID_SPECULATION_DEFAULT
                        : k == 4 ? HYBRID_SPECULATION_AUTO
                                 : HYBRID_SPECULATION_ALWAYS;
        d.n_guess = k == 2 ? 2 : 0;
        s = session_of(m, d);
        for (i = 0; i < 6; i++) {
            say(s, i % 3, k == 3 ? 0 : UINT64_MAX, k ? got : want[i], k ? &info : &plain[i]);
            if (!k) continue;
            CHECK(!strcmp(got, want[i]), "%d, turn %d: '%s' is not '%s'", k, i, got, want[i]);
            CHECK(info.stop == plain[i].stop && info.n_used == plain[i].n_used && info.n_cached == plain[i].n_cached &&
                      info.n_generated == plain[i].n_generated,
                  "%d, turn %d: %d used, %d cached; not %d, %d", k, i, info.n_used, info.n_cached, plain[i].n_used,
                  plain[i].n_cached);
            guessed += info.n_guessed;
            right += info.n_right;
            if (k == 1 && i == 0)
                CHECK(info.n_right > 20, "of a form %d of %d guesses are right", info.n_right, info.n_guessed);
        }
        hybrid_session_destroy(s);
    }
    CHECK(guessed > right && right > 100, "%d of %d guesses are right", right, guessed);
}

/* ---- a crowd: guesses of several share a batch, its rows of logits and its pages ---- */

static void crowd_of(hybrid_model *m, hybrid_speculation how, int32_t n_ctx, int32_t n_logits, uint64_t budget_us,
                     char text[CROWD][4096], hybrid_session_info info[CROWD])
{
    static const char *const said[CROWD] = { "Tim and Lily. Tim and Lily. Tim", "The cat sat. The cat",
                                             "Sue. Sue. Sue.", "One day", "A dog, a cat, a dog, a" };
    hybrid_context *c = context_of(m, n_ctx, CROWD, how == HYBRID_SPECULATION_OFF ? 0 : n_logits);
    hybrid_session_desc d;
    int i;
    memset(&d, 0, sizeof d);
    d.max_tokens = 40;
    d.speculation = how;
    d.n_guess = 6;
    talk_together(m, c, d, said, budget_us, text, info);
    for (i = 0; i < CROWD; i++) {
        n_guessed += info[i].n_guessed;
        n_right += info[i].n_right;
    }
    CHECK(hybrid_context_room(c) >= n_ctx, "all pages are free again");
    hybrid_context_destroy(c);
}

static void crowds(hybrid_model *m)
{
    static char want[CROWD][4096], got[CROWD][4096];
    static hybrid_session_info plain[CROWD], info[CROWD];
    static const int32_t n_logits[] = { 64, 8, 5, 64 };
    int i, k;
    TEST("a crowd");
    crowd_of(m, HYBRID_SPECULATION_OFF, 600, 0, UINT64_MAX, want, plain);
    for (k = 0; k < 4; k++) {
        n_guessed = n_right = 0;
        crowd_of(m, k == 3 ? HYBRID_SPECULATION_AUTO : HYBRID_SPECULATION_ALWAYS, 600, n_logits[k],
                 k % 2 ? 0 : UINT64_MAX, got, info);
        for (i = 0; i < CROWD; i++)
            CHECK(!strcmp(got[i], want[i]) && info[i].stop == plain[i].stop &&
                      info[i].n_generated == plain[i].n_generated,
                  "%d, %d: '%s' is not '%s'", k, i, got[i], want[i]);
        if (k < 2) CHECK(n_guessed > n_right && n_right > 0, "%d of %d are right", (int)n_right, (int)n_guessed);
    }
    /* pages for all tokens of all, and hardly more: nobody's answer ends sooner for the guesses of another */
    crowd_of(m, HYBRID_SPECULATION_OFF, 288, 0, UINT64_MAX, want, plain);
    crowd_of(m, HYBRID_SPECULATION_ALWAYS, 288, 64, UINT64_MAX, got, info);
    for (i = 0; i < CROWD; i++)
        CHECK(!strcmp(got[i], want[i]) && info[i].stop == plain[i].stop, "%d: '%s' (%d) is not '%s' (%d)", i, got[i],
              (int)info[i].stop, want[i], (int)plain[i].stop);
}

/* ---- saved games: between any two slices ---- */

static void saved(hybrid_model *m)
{
    static char want[8192], rest[8192];
    static unsigned char bytes[1 << 20];
    hybrid_session_desc d;
    hybrid_session *a, *b;
    hybrid_session_info info;
    hybrid_target to;
    hybrid_source from;
    hybrid_piece p;
    hybrid_error e;
    size_t shown = 0;
    int i = 0;
    TEST("saved games");
    memset(&d, 0, sizeof d);
    memset(&to, 0, sizeof to);
    memset(&from, 0, sizeof from);
    d.max_tokens = 60;
    d.context.n_ctx = 256;
    d.sampler = sampler_of(3);
    a = session_of(m, d);
    say(a, 2, UINT64_MAX, want, &info);
    d.speculation = HYBRID_SPECULATION_ALWAYS;
    hybrid_session_destroy(a);
    a = session_of(m, d);
    CHECK(!hybrid_session_complete(a, "Tim and Lily. Tim and Lily. Tim and"), "a text");
    memset(&p, 0, sizeof p);
    do {
        CHECK(!hybrid_session_step(a, 0, &p), "a step");
        shown += p.size;
        if (i++ % 61) continue;
        to.data = bytes;
        to.capacity = hybrid_session_save_size(a, NULL);
        CHECK(to.capacity < sizeof bytes && !hybrid_session_save(a, NULL, &to, &e), "%s", e.message);
        from.data = bytes;
        from.size = to.capacity;
        d.speculation = i % 2 ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
        b = session_of(m, d);
        CHECK(!hybrid_session_load(b, NULL, &from, &e), "%s", e.message);
        *rest = 0;
        while (!p.stop) {
            CHECK(!hybrid_session_step(b, UINT64_MAX, &p), "a step");
            strcat(rest, p.text);
        }
        p.stop = HYBRID_STOP_NONE;
        hybrid_session_describe(a, &info);
        if (info.stop) p.stop = info.stop;
        CHECK(!strcmp(rest, want + shown), "after %d: '%s' is not '%s'", (int)shown, rest, want + shown);
        hybrid_session_destroy(b);
    } while (!p.stop && i < 100000);
    CHECK(shown == strlen(want) && i > 100, "%d bytes in %d slices", (int)shown, i);
    hybrid_session_destroy(a);
}

/* ---- what is refused ---- */

static void refused(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_answer_desc a;
    hybrid_session *s = NULL;
    hybrid_error e;
    TEST("refused");
    memset(&d, 0, sizeof d);
    memset(&a, 0, sizeof a);
    d.n_guess = 64;
    CHECK(hybrid_session_create(m, &d, &s, &e) == HYBRID_ERROR_INVALID && !s && strstr(e.message, "n_guess is 64"),
          "%s", e.message);
    d.n_guess = 0;
    d.speculation = (hybrid_speculation)9;
    CHECK(hybrid_session_create(m, &d, &s, &e) == HYBRID_ERROR_INVALID && !s && strstr(e.message, "speculation is 9"),
          "%s", e.message);
    d.speculation = HYBRID_SPECULATION_OFF;
    s = session_of(m, d);
    a.speculation = HYBRID_SPECULATION_AUTO;
    CHECK(hybrid_session_answer(s, "Hello", &a) == HYBRID_ERROR_INVALID, "without");
    CHECK(hybrid_session_result(s, &e) && strstr(e.message, "created without"), "%s", e.message);
    a.speculation = HYBRID_SPECULATION_OFF;
    CHECK(!hybrid_session_answer(s, "Hello", &a), "off");
    hybrid_session_destroy(s);
}

/* ---- memory that fails: a stream is not made, or it answers as ever ---- */

static int left = -1;
static void *alloc_some(void *user, size_t size)
{
    (void)user;
    if (left == 0) return NULL;
    if (left > 0) left--;
    return malloc(size);
}
static void free_some(void *user, void *block)
{
    (void)user;
    free(block);
}

static void memory_that_fails(void)
{
    static answer want, got;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_stream_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_context *c;
    hybrid_stream *s;
    hybrid_error e;
    int32_t ids[40];
    int i, failed = 0;
    TEST("memory that fails");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&d, 0, sizeof d);
    rd.allocator.alloc = alloc_some;
    rd.allocator.free = free_some;
    md.path = "tests/oracle/data/models/llama.gguf";
    CHECK(!hybrid_runtime_create(&rd, &rt, &e) && !hybrid_model_load(rt, &md, &m, &e), "%s", e.message);
    c = context_of(m, 200, 1, 8);
    pattern(ids, 40, model_info(m).n_vocab, 1);
    d.sampler = sampler_of(2);
    d.max_tokens = 40;
    d.logprobs = true;
    s = stream_of(c, &d);
    CHECK(!hybrid_stream_begin(s, ids, 40, &e), "%s", e.message);
    read_all(s, UINT64_MAX, &want);
    hybrid_stream_destroy(s);
    d.speculation = HYBRID_SPECULATION_ALWAYS;
    for (i = 0; i < 1000; i++) {
        hybrid_result r;
        s = NULL;
        left = i;
        r = hybrid_stream_create(c, &d, &s, &e);
        if (!r) break;
        CHECK(r == HYBRID_ERROR_MEMORY && !s, "%s", e.message);
        failed++;
    }
    CHECK(failed > 5 && s, "%d allocations", failed);
    left = 0; /* an answer takes no memory */
    CHECK(!hybrid_stream_begin(s, ids, 40, &e), "%s", e.message);
    read_all(s, UINT64_MAX, &got);
    left = -1;
    compare(&got, &want, "no memory", 0);
    CHECK(got.info.n_right > 0, "guesses were right");
    hybrid_stream_destroy(s);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
}

int main(void)
{
    static const char *const names[] = { "llama",  "gemma3", "gemma2", "phi3-window", "gpt2", "qwen3moe",
                                         "lfm2",   "rwkv7",  "arwkv7", "openelm" };
    hybrid_model *story = model_of(story_model);
    char path[256];
    int i;
    for (i = 0; i < COUNT(names); i++) {
        if (!test_wanted(names[i])) continue;
        TEST(names[i]);
        snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", names[i]);
        check_model(path, !i || i == 6 ? (int)SAMPLERS : 2);
    }
    TEST("stories");
    if (test_wanted("stories")) check_model(story_model, 3);
    if (test_wanted("repeats")) it_pays(story);
    if (test_wanted("names")) other_names(story);
    if (test_wanted("full")) full(story);
    if (test_wanted("sessions")) sessions(story);
    if (test_wanted("crowd")) crowds(story);
    if (test_wanted("saved")) saved(story);
    memory_that_fails();
    refused(story);
    hybrid_model_destroy(story);
    return test_end();
}
