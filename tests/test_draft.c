/* A draft: whatever a smaller model guesses, and whatever becomes of it, an answer is that of a stream that has none,
 * bit for bit; and the draft is computed no oftener than it must be. */
#include "interface.h"
#include "speculation.h"

/* What a model's pass is seen to compute: a callback of a context. */
typedef struct seen {
    int64_t rows, most; /* of embeddings: tokens that went through, and through one pass at most */
    int layers;         /* that were run */
} seen;

static void look(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                 int64_t row_stride)
{
    seen *s = (seen *)user;
    (void)layer;
    (void)data;
    (void)n_cols;
    (void)row_stride;
    if (!strcmp(name, "embd")) s->rows += n_rows;
    if (!strcmp(name, "embd")) s->most = LARGER(s->most, n_rows);
    if (!strcmp(name, "l_out")) s->layers++;
}

static hybrid_context *draft_of(hybrid_model *m, int32_t n_ctx, int32_t n_seq, seen *s)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = n_seq;
    d.trace = s ? look : NULL;
    d.trace_user = s;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

/* ---- models of several kinds, samplers of all kinds ---- */

static void check_pair(const char *path, const char *draft_path, int samplers, bool alike)
{
    static answer want[2], got[2];
    static const uint64_t budgets[] = { UINT64_MAX, 0, 300 };
    static const int32_t most[] = { 5, 1, 40, 5, 5, 7 };
    hybrid_model *m = model_of(path), *small = model_of(draft_path);
    hybrid_stream_desc d;
    int64_t drafted = 0, right = 0;
    int i, k, t;
    if (!m || !small) return;
    memset(&d, 0, sizeof d);
    d.logprobs = true;
    d.max_tokens = 45;
    n_guessed = n_right = 0;
    for (i = 0; i < samplers; i++) {
        d.sampler = sampler_of(i);
        d.speculation = HYBRID_SPECULATION_OFF;
        d.n_guess = 0;
        d.draft = NULL;
        turns(m, &d, UINT64_MAX, want);
        for (k = 0; k < 6; k++) { /* the last: not enough positions for all of it */
            hybrid_context *c = draft_of(small, k == 5 ? 40 : SMALLER(500, model_info(small).n_ctx_train), 1, NULL);
            d.draft = c;
            d.speculation = k == 4 ? HYBRID_SPECULATION_DEFAULT : HYBRID_SPECULATION_ALWAYS;
            d.n_guess = most[k];
            turns(m, &d, budgets[k % 3], got);
            for (t = 0; t < 2; t++) {
                compare(&got[t], &want[t], draft_path, 100 * i + 10 * k + t);
                drafted += got[t].info.n_drafted;
                right += got[t].info.n_drafted_right;
                CHECK(got[t].info.n_drafted <= got[t].info.n_guessed &&
                          got[t].info.n_drafted_right <= got[t].info.n_right,
                      "%d of %d", got[t].info.n_drafted, got[t].info.n_guessed);
            }
            CHECK(hybrid_context_room(c) >= SMALLER(40, model_info(small).n_ctx_train) &&
                      hybrid_seq_length(c, 0) == 0,
                  "the draft's pages are free again");
            hybrid_context_destroy(c);
        }
    }
    CHECK(drafted > right && right > (alike ? 50 : -1), "%s: %d of %d of the draft's guesses are right", draft_path,
          (int)right, (int)drafted);
    hybrid_model_destroy(small);
    hybrid_model_destroy(m);
}

/* ---- the draft is the model itself: all that it says comes ---- */

static void it_is_right(hybrid_model *m)
{
    static answer want[2], got;
    static const uint64_t budgets[] = { UINT64_MAX, 0 };
    static const char *const texts[] = { "Once upon a time there was a boy named Tim. He had a red car, and he",
                                         "Sue and Mom went to the sea. The water was cold. A big fish said: " };
    int32_t ids[64];
    size_t n = 0;
    hybrid_context *c = context_of(m, 512, 1, 6), *small;
    hybrid_stream_desc d;
    hybrid_stream *s;
    hybrid_error e;
    int i, k;
    seen see;
    TEST("a draft that is right");
    memset(&d, 0, sizeof d);
    d.max_tokens = 100;
    d.n_guess = 5;
    s = stream_of(c, &d);
    for (i = 0; i < 2; i++) {
        CHECK(!hybrid_tokenize(hybrid_model_tokenizer(m), texts[i], strlen(texts[i]), 0, ids, COUNT(ids), &n, &e) &&
                  !hybrid_stream_begin(s, ids, n, &e),
              "%s", e.message);
        read_all(s, UINT64_MAX, &want[i]);
    }
    hybrid_stream_destroy(s);
    for (k = 0; k < 2; k++) {
        memset(&see, 0, sizeof see);
        d.draft = small = draft_of(m, 512, 1, &see);
        d.speculation = HYBRID_SPECULATION_ALWAYS;
        s = stream_of(c, &d);
        for (i = 0; i < 2; i++) { /* the second text has nothing of the first */
            hybrid_tokenize(hybrid_model_tokenizer(m), texts[i], strlen(texts[i]), 0, ids, COUNT(ids), &n, NULL);
            CHECK(!hybrid_stream_begin(s, ids, n, &e), "%s", e.message);
            read_all(s, budgets[k], &got);
            compare(&got, &want[i], "itself", 2 * k + i);
            CHECK(got.info.n_drafted > 30, "%d were drafted", got.info.n_drafted);
            /* the last guesses may be beyond the end of the answer */
            CHECK(got.info.n_drafted_right >= got.info.n_drafted - 5, "%d of %d are right", got.info.n_drafted_right,
                  got.info.n_drafted);
            CHECK(k || got.pieces < want[i].pieces / 2, "%d pieces, not %d", got.pieces, want[i].pieces);
        }
        CHECK(see.rows <= 2 * (40 + 100), "%d tokens went through the draft", (int)see.rows);
        hybrid_stream_destroy(s);
        hybrid_context_destroy(small);
    }
    hybrid_context_destroy(c);
}

/* A second prompt that begins as the first text did: the draft computes what is new. And slices are of one layer of one
 * of the two models. */
static void it_keeps(hybrid_model *m)
{
    hybrid_context_desc cd;
    hybrid_context *c = NULL, *small;
    hybrid_stream_desc d;
    hybrid_stream *s;
    hybrid_piece p;
    hybrid_error e;
    static answer a;
    int32_t ids[MOST], n;
    const int32_t *all;
    size_t n_all;
    seen see;
    TEST("what the draft keeps");
    memset(&d, 0, sizeof d);
    memset(&cd, 0, sizeof cd);
    memset(&see, 0, sizeof see);
    cd.n_ctx = 512;
    cd.n_logits = 5;
    cd.trace = look;
    cd.trace_user = &see;
    CHECK(!hybrid_context_create(m, &cd, &c, &e), "%s", e.message);
    d.max_tokens = 30;
    d.n_guess = 4;
    d.sampler = sampler_of(5); /* often another token than the likeliest */
    d.sampler.bias = NULL;
    d.sampler.n_bias = 0;
    d.speculation = HYBRID_SPECULATION_ALWAYS;
    d.draft = small = draft_of(m, 512, 1, &see);
    s = stream_of(c, &d);
    n = pattern(ids, 200, 500, 3);
    CHECK(!hybrid_stream_begin(s, ids, (size_t)n, &e), "%s", e.message);
    read_all(s, 0, &a);
    CHECK(see.most <= 64 && see.rows > 400, "of %d tokens %d at once", (int)see.rows, (int)see.most);
    all = hybrid_stream_ids(s, &n_all);
    memcpy(ids, all, n_all * sizeof *ids);
    pattern(ids + n_all, 10, 500, 4);
    memset(&see, 0, sizeof see);
    CHECK(!hybrid_stream_begin(s, ids, n_all + 10, &e), "%s", e.message);
    do { /* both the target and the draft have some 200 tokens already */
        see.layers = 0;
        CHECK(!hybrid_stream_step(s, 0, &p, &e), "%s", e.message);
        CHECK(see.layers <= 1, "%d layers in a slice", see.layers);
    } while (!p.stop);
    hybrid_stream_describe(s, &a.info);
    CHECK(a.info.n_drafted > 5, "%d were drafted", a.info.n_drafted);
    CHECK(see.rows < 2 * (10 + 2) + 2 * (int64_t)a.info.n_generated + 3 * (int64_t)a.info.n_guessed,
          "%d tokens went through both for %d and %d guesses", (int)see.rows, a.info.n_generated, a.info.n_guessed);
    hybrid_stream_destroy(s);
    hybrid_context_destroy(small);
    hybrid_context_destroy(c);
}

/* ---- answers that are broken off in every slice ---- */

/* Nothing of a stream is left in the draft's batch. */
static void is_empty(hybrid_context *draft, const char *when, int slices)
{
    hybrid_error e;
    CHECK(hybrid_decode(draft, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "is empty"), "%s, after %d slices: %s",
          when, slices, e.message);
}

static void broken_off(hybrid_model *m)
{
    static answer want, got;
    hybrid_context *c = context_of(m, 256, 1, 5), *small = draft_of(m, 256, 1, NULL);
    hybrid_stream_desc d;
    hybrid_stream *s;
    hybrid_piece p;
    hybrid_error e;
    int32_t ids[40], n = pattern(ids, 20, 500, 9);
    int slices, i;
    bool ended = false;
    TEST("broken off");
    memset(&d, 0, sizeof d);
    d.max_tokens = 8;
    d.sampler.seed = 3;
    d.logprobs = true;
    s = stream_of(c, &d);
    CHECK(!hybrid_stream_begin(s, ids, (size_t)n, &e), "%s", e.message);
    read_all(s, UINT64_MAX, &want);
    hybrid_stream_destroy(s);
    d.draft = small;
    d.n_guess = 4;
    d.speculation = HYBRID_SPECULATION_ALWAYS;
    for (slices = 1; !ended; slices += slices < 40 ? 1 : 4) {
        s = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(s, ids, 12, &e), "%s", e.message); /* another text, */
        for (i = 0; i < slices && !ended; i++) {
            CHECK(!hybrid_stream_step(s, 0, &p, &e), "%s", e.message);
            ended = p.stop != HYBRID_STOP_NONE;
        }
        if (slices % 3 == 0) {
            hybrid_stream_stop(s);
            is_empty(small, "stopped", slices);
        }
        if (slices % 3 == 1) {
            hybrid_stream_destroy(s);
            is_empty(small, "destroyed", slices);
            CHECK(hybrid_seq_length(small, 0) == 0 && hybrid_context_room(small) == 256, "all pages are free");
            s = stream_of(c, &d);
        }
        CHECK(!hybrid_stream_begin(s, ids, (size_t)n, &e), "%s", e.message); /* and then that one */
        is_empty(small, "begun", slices);
        read_all(s, UINT64_MAX, &got);
        compare(&got, &want, "broken off", slices);
        CHECK(got.info.n_drafted > 0, "after %d slices nothing is guessed", slices);
        hybrid_stream_destroy(s);
    }
    CHECK(slices > 100, "%d slices", slices);
    hybrid_context_destroy(small);
    hybrid_context_destroy(c);
}

/* ---- several streams of one context ---- */

static void crowd_of(hybrid_model *m, hybrid_context *draft, uint64_t budget_us, char text[CROWD][4096],
                     hybrid_session_info info[CROWD])
{
#define LONG "Once upon a time there was a little girl named Lily. She had a dog, a cat, and a red ball that she " \
             "liked very much. One day she went to the park with her mom and her friend Tim. They saw a big "
    static const char *const said[CROWD] = { LONG "dog", LONG "cat", LONG "tree", "One day",
                                             "Tom and Sue were friends. They" };
    hybrid_context *c = context_of(m, 800, CROWD, 64);
    hybrid_session_desc d;
    memset(&d, 0, sizeof d);
    d.max_tokens = 40;
    d.draft = draft;
    d.speculation = draft ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
    d.n_guess = 4;
    talk_together(m, c, d, said, budget_us, text, info);
    hybrid_context_destroy(c);
}

static void crowds(hybrid_model *m)
{
    static char want[CROWD][4096], got[CROWD][4096];
    static hybrid_session_info plain[CROWD], info[CROWD];
    int i, k, drafted, right, tokens, first[CROWD];
    TEST("a crowd");
    crowd_of(m, NULL, UINT64_MAX, want, plain);
    for (k = 0; k < 4; k++) { /* the last draft has too few positions */
        seen see = { 0, 0, 0 };
        hybrid_context *draft = draft_of(m, k == 3 ? 64 : 800, CROWD, &see);
        crowd_of(m, draft, k == 1 ? 0 : UINT64_MAX, got, info);
        for (drafted = right = tokens = i = 0; i < CROWD; i++) {
            CHECK(!strcmp(got[i], want[i]) && info[i].stop == plain[i].stop &&
                      info[i].n_generated == plain[i].n_generated,
                  "%d, %d: '%s' is not '%s'", k, i, got[i], want[i]);
            if (!k) first[i] = info[i].n_drafted;
            if (k < 3 || i > 2) /* texts that are too long take nothing from others */
                CHECK(info[i].n_drafted > 0 && info[i].n_drafted >= first[i], "%d, %d: %d guesses, not %d", k, i,
                      info[i].n_drafted, first[i]);
            drafted += info[i].n_drafted;
            right += info[i].n_drafted_right;
            tokens += info[i].n_prompt + info[i].n_generated;
        }
        CHECK(right > 0 && drafted > right, "%d of %d are right", right, drafted);
        if (k < 3) /* what texts begin with in common is computed once: some of the 60 tokens */
            CHECK(see.rows <= tokens - 48, "%d tokens went through the draft, of %d", (int)see.rows, tokens);
        hybrid_context_destroy(draft);
    }
}

/* Two streams whose steps alternate in slices, each in the middle of the other's guesses. */
static void by_turns(hybrid_model *m)
{
    static answer want[2], got[2];
    hybrid_context *c = context_of(m, 512, 2, 12), *small = draft_of(m, 512, 2, NULL);
    hybrid_stream_desc d;
    hybrid_stream *s[2];
    hybrid_piece p;
    hybrid_error e;
    int32_t ids[2][40];
    bool on[2];
    int i, k;
    TEST("by turns");
    memset(&d, 0, sizeof d);
    d.max_tokens = 30;
    d.logprobs = true;
    d.n_guess = 4;
    d.seq = -1;
    for (k = 0; k < 2; k++) {
        memset(got, 0, sizeof got);
        for (i = 0; i < 2; i++) {
            d.sampler = sampler_of(1 + 4 * i);
            d.draft = k ? small : NULL;
            d.speculation = k ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
            s[i] = stream_of(c, &d);
            pattern(ids[i], 30, 500, 11 + (uint32_t)i);
            CHECK(!hybrid_stream_begin(s[i], ids[i], 30, &e), "%s", e.message);
            on[i] = true;
        }
        while (on[0] || on[1])
            for (i = 0; i < 2; i++) {
                if (!on[i]) continue;
                CHECK(!hybrid_stream_step(s[i], 0, &p, &e), "%s", e.message);
                if (p.size || p.n_ids || p.stop) on[i] = take(&got[i], &p);
            }
        for (i = 0; i < 2; i++) {
            hybrid_stream_describe(s[i], &got[i].info);
            hybrid_stream_destroy(s[i]);
            if (k) compare(&got[i], &want[i], "by turns", i);
            if (k) CHECK(got[i].info.n_drafted > 10, "%d: %d guesses", i, got[i].info.n_drafted);
        }
        memcpy(want, got, sizeof want);
    }
    hybrid_context_destroy(small);
    hybrid_context_destroy(c);
}

/* ---- sessions: forms, turns that are forgotten, saved games ---- */

static const char schema[] =
    "{\"type\": \"array\", \"minItems\": 3, \"maxItems\": 3, \"items\": {\"type\": \"object\", \"properties\": {"
    "\"first_name\": {\"enum\": [\"Lily\", \"Tim\", \"Sue\"]}, \"year\": {\"type\": \"integer\", \"minimum\": 1900, "
    "\"maximum\": 2000}}, \"required\": [\"first_name\", \"year\"], \"additionalProperties\": false}}";

static void talk(hybrid_session *s, int turn, uint64_t budget_us, char *text)
{
    hybrid_piece p;
    if (turn % 3 == 0) CHECK(!hybrid_session_say_json(s, "Who?", schema), "json");
    if (turn % 3 == 1) CHECK(!hybrid_session_say(s, "Tell me about the dog."), "an answer");
    if (turn % 3 == 2) CHECK(!hybrid_session_say(s, "And then?"), "an answer");
    *text = 0;
    do {
        CHECK(!hybrid_session_step(s, budget_us, &p), "a step");
        strcat(text, p.text);
    } while (!p.stop);
}

static void sessions(hybrid_model *m)
{
    static char want[8][8192], got[8192], rest[8192];
    static unsigned char bytes[1 << 20];
    hybrid_context *small, *other;
    hybrid_session_desc d;
    hybrid_session *s, *again;
    hybrid_session_info info, plain[8];
    hybrid_target to;
    hybrid_source from;
    hybrid_piece p;
    hybrid_error e;
    const int often = getenv("HYBRID_SANITIZER") ? 401 : 89; /* steps between two saves */
    int i, j, k, drafted = 0;
    TEST("sessions");
    memset(&d, 0, sizeof d);
    d.max_tokens = 50;
    d.context.n_ctx = 300; /* so that messages are forgotten */
    d.sampler.temperature = 0.7f;
    d.sampler.seed = 3;
    for (k = 0; k < 3; k++) {
        small = draft_of(m, 300, 1, NULL);
        d.draft = k ? small : NULL;
        d.speculation = k ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_DEFAULT;
        d.n_guess = k == 2 ? 2 : 6;
        s = NULL;
        CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
        for (i = 0; i < 8; i++) {
            talk(s, i, k == 2 ? 0 : UINT64_MAX, k ? got : want[i]);
            hybrid_session_describe(s, k ? &info : &plain[i]);
            if (!k) continue;
            CHECK(!strcmp(got, want[i]), "%d, turn %d: '%s' is not '%s'", k, i, got, want[i]);
            CHECK(info.stop == plain[i].stop && info.n_used == plain[i].n_used &&
                      info.n_forgotten == plain[i].n_forgotten,
                  "%d, turn %d", k, i);
            drafted += info.n_drafted;
        }
        if (k == 1)
            CHECK(info.n_forgotten > 0 && info.n_drafted > 0, "%d forgotten, %d guessed", info.n_forgotten,
                  info.n_drafted);
        hybrid_session_destroy(s);
        hybrid_context_destroy(small);
    }
    CHECK(drafted > 50, "%d guesses", drafted);
    /* saved in the middle of guesses, and loaded by one that has another draft with another text in it */
    small = draft_of(m, 300, 1, NULL);
    other = draft_of(m, 300, 1, NULL);
    d.draft = small;
    s = again = NULL;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    d.draft = other;
    CHECK(!hybrid_session_create(m, &d, &again, &e), "%s", e.message);
    talk(again, 2, UINT64_MAX, got);
    talk(s, 0, UINT64_MAX, got);
    CHECK(!hybrid_session_say(s, "Tell me about the dog."), "an answer");
    *got = 0;
    for (i = 0; i < 100000; i++) {
        CHECK(!hybrid_session_step(s, 0, &p), "a step");
        strcat(got, p.text);
        if (p.stop) break;
        if (i % often) continue;
        memset(&to, 0, sizeof to);
        memset(&from, 0, sizeof from);
        to.data = bytes;
        to.capacity = hybrid_session_save_size(s, NULL);
        CHECK(to.capacity < sizeof bytes && !hybrid_session_save(s, NULL, &to, &e), "%s", e.message);
        from.data = bytes;
        from.size = to.capacity;
        CHECK(!hybrid_session_say(again, "And then?"), "an answer");
        for (j = 0; j < 60 + i / 2; j++) hybrid_session_step(again, 0, &p); /* in the middle of guesses, too */
        CHECK(!hybrid_session_load(again, NULL, &from, &e), "%s", e.message);
        is_empty(other, "loaded", i);
        strcpy(rest, got);
        do {
            CHECK(!hybrid_session_step(again, i % 2 ? 0 : UINT64_MAX, &p), "a step");
            strcat(rest, p.text);
        } while (!p.stop);
        CHECK(!strcmp(rest, want[1]), "after %d slices: '%s' is not '%s'", i, rest, want[1]);
    }
    CHECK(!strcmp(got, want[1]) && i > 100, "%d slices: '%s'", i, got);
    hybrid_session_destroy(again);
    hybrid_session_destroy(s);
    hybrid_context_destroy(other);
    hybrid_context_destroy(small);
}

/* ---- what a grammar allows ---- */

/* A draft knows the grammar: it guesses no token that the form does not allow. One that is the model itself is right
 * nearly each time that the likeliest token is chosen (forced text may be cut otherwise); sampled, what comes is the
 * same as without it. */
/* A trace: passes of a model. */
static void count_passes(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                         int64_t row_stride)
{
    (void)layer;
    (void)data;
    (void)n_rows;
    (void)n_cols;
    (void)row_stride;
    *(int *)user += !strcmp(name, "embd");
}

static void forms(hybrid_model *m)
{
    static char want[8192], got[8192];
    static const char text[] =
        "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"minLength\": 8, "
        "\"maxLength\": 20}, "
        "\"old\": {\"type\": \"integer\", \"minimum\": 10000, \"maximum\": 99999}, \"likes\": {\"type\": \"array\", "
        "\"minItems\": 3, \"maxItems\": 3, \"items\": {\"enum\": [\"apples\", \"bread\", \"cakes\", \"dogs\"]}}}, "
        "\"required\": [\"name\", \"old\", \"likes\"], \"additionalProperties\": false}";
    hybrid_session_desc d;
    hybrid_session_info info;
    hybrid_piece p;
    hybrid_error e;
    int i, k, drafted = 0, right = 0, right_of_all = 0, passes[2] = { 0, 0 }, drafts = 0, of_draft = 0;
    TEST("forms");
    for (i = 0; i < 8; i++)
        for (k = 0; k < 2; k++) {
            hybrid_context_desc cd;
            hybrid_context *small = NULL;
            hybrid_session *s = NULL;
            char *to = k ? got : want;
            int n = 0;
            memset(&cd, 0, sizeof cd);
            cd.n_ctx = 300;
            cd.trace = count_passes;
            cd.trace_user = &of_draft;
            of_draft = 0;
            CHECK(!hybrid_context_create(m, &cd, &small, &e), "%s", e.message);
            memset(&d, 0, sizeof d);
            d.max_tokens = 90;
            d.context.n_ctx = 300;
            d.context.trace = count_passes;
            d.context.trace_user = &n;
            d.sampler.temperature = i / 2 * 0.5f; /* 0: the likeliest token */
            d.sampler.seed = (uint64_t)i;
            d.sample_forced = i % 2;
            d.draft = k ? small : NULL;
            d.speculation = k ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_DEFAULT;
            d.n_guess = i ? 4 : 12;
            CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
            CHECK(!hybrid_session_say_json(s, i % 2 ? "A man." : "Who is it?", text), "json");
            *to = 0;
            do {
                CHECK(!hybrid_session_step(s, i % 3 ? UINT64_MAX : 0, &p), "a step");
                strcat(to, p.text);
            } while (!p.stop);
            hybrid_session_describe(s, &info);
            if (k) CHECK(!strcmp(got, want), "%d: '%s' is not '%s'", i, got, want);
            if (!i) passes[k] = n, drafts = of_draft;
            if (k && i < 2) drafted += info.n_drafted, right += info.n_drafted_right;
            if (k) right_of_all += info.n_drafted_right;
            hybrid_session_destroy(s);
            hybrid_context_destroy(small);
        }
    CHECK(drafted > 20 && right >= drafted - 6, "%d of %d are right", right, drafted);
    printf("%d passes of the model and %d of the draft; without a draft %d\n", passes[1], drafts, passes[0]);
    CHECK(passes[1] < 15 && drafts < 25, "%d passes, %d of the draft", passes[1], drafts);
    /* 15 and 36 where it spells what is forced */
    CHECK(right_of_all > 95, "%d are right", right_of_all); /* 108, and 68 when the draft looks at no mask */
}

/* ---- where the draft cannot go on ---- */

/* The host has put tokens into the draft's batch: they stay, and there are no guesses. */
static void occupied(hybrid_model *m)
{
    static answer want, got;
    hybrid_context *c = context_of(m, 256, 1, 5), *small = draft_of(m, 256, 2, NULL);
    hybrid_stream_desc d;
    hybrid_stream *s;
    hybrid_error e;
    const int32_t ids[] = { 1, 403, 407 };
    int k;
    TEST("a draft that is occupied");
    memset(&d, 0, sizeof d);
    d.max_tokens = 20;
    d.logprobs = true;
    for (k = 0; k < 2; k++) {
        d.draft = k ? small : NULL;
        d.speculation = k ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
        if (k) CHECK(!hybrid_batch_add(small, 1, ids, 2, &e), "%s", e.message);
        s = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(s, ids, 3, &e), "%s", e.message);
        read_all(s, UINT64_MAX, k ? &got : &want);
        hybrid_stream_destroy(s);
    }
    compare(&got, &want, "occupied", 0);
    CHECK(!got.info.n_drafted, "%d guesses", got.info.n_drafted);
    CHECK(!hybrid_decode(small, &e) && hybrid_seq_length(small, 1) == 2, "the host's tokens are there");
    hybrid_context_destroy(small);
    hybrid_context_destroy(c);
}

/* ---- what is refused ---- */

static void refuse(hybrid_context *c, hybrid_context *draft, hybrid_result how, const char *why)
{
    hybrid_stream_desc d;
    hybrid_stream *s = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.draft = draft;
    d.seq = -1;
    e.message[0] = 0;
    CHECK(hybrid_stream_create(c, &d, &s, &e) == how && !s && strstr(e.message, why), "not '%s': '%s'", why, e.message);
    hybrid_stream_destroy(s);
}

static void refused(hybrid_model *story)
{
    hybrid_model *llama = model_of("tests/oracle/data/models/llama.gguf"),
                 *rwkv = model_of("tests/oracle/data/models/rwkv7.gguf"),
                 *bert = model_of("tests/oracle/data/models/bert.gguf");
    hybrid_context *c = context_of(story, 128, 3, 8), *other = context_of(story, 128, 1, 8),
                   *small = draft_of(story, 128, 1, NULL), *wrong = draft_of(llama, 64, 1, NULL),
                   *goes = draft_of(rwkv, 64, 1, NULL), *reads = draft_of(bert, 64, 1, NULL);
    hybrid_stream_desc d;
    hybrid_stream *s;
    TEST("refused");
    memset(&d, 0, sizeof d);
    refuse(c, wrong, HYBRID_ERROR_INVALID, "other tokens");
    refuse(c, goes, HYBRID_ERROR_UNSUPPORTED, "only goes forward");
    refuse(c, reads, HYBRID_ERROR_UNSUPPORTED, "encoder");
    refuse(c, c, HYBRID_ERROR_INVALID, "has streams itself");
    d.draft = small;
    s = stream_of(c, &d);
    refuse(c, small, HYBRID_ERROR_INVALID, "raise its n_seq");
    refuse(other, small, HYBRID_ERROR_INVALID, "of another context");
    refuse(small, NULL, HYBRID_ERROR_INVALID, "is the draft of another");
    hybrid_stream_destroy(s);
    d.draft = NULL;
    s = stream_of(small, &d);
    refuse(c, small, HYBRID_ERROR_INVALID, "has streams itself");
    hybrid_stream_destroy(s);
    d.draft = small; /* it is free again, */
    s = stream_of(other, &d);
    hybrid_stream_destroy(s);
    d.speculation = HYBRID_SPECULATION_OFF; /* and one that is not to be used is not looked at */
    d.draft = wrong;
    s = stream_of(other, &d);
    hybrid_stream_destroy(s);
    hybrid_context_destroy(reads);
    hybrid_context_destroy(goes);
    hybrid_context_destroy(wrong);
    hybrid_context_destroy(small);
    hybrid_context_destroy(other);
    hybrid_context_destroy(c);
    hybrid_model_destroy(bert);
    hybrid_model_destroy(rwkv);
    hybrid_model_destroy(llama);
}

int main(void)
{
    static const char *const pairs[][2] = {
        { "llama", "llama" }, { "llama", "openelm" }, { "gpt2", "gpt2" }, { "arwkv7", "qwen2" }, { "gemma3", "gemma3" },
    };
    hybrid_model *story = model_of(story_model);
    char path[256], draft[256];
    int i;
    for (i = 0; i < COUNT(pairs); i++) {
        if (!test_wanted(pairs[i][0])) continue;
        TEST(pairs[i][0]);
        snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", pairs[i][0]);
        snprintf(draft, sizeof draft, "tests/oracle/data/models/%s.gguf", pairs[i][1]);
        check_pair(path, draft, i == 1 ? (int)SAMPLERS : 3, i != 1 && i != 3);
    }
    TEST("stories");
    if (test_wanted("stories")) check_pair(story_model, story_model, 3, true);
    if (test_wanted("right")) it_is_right(story);
    if (test_wanted("keeps")) it_keeps(story);
    if (test_wanted("broken")) broken_off(story);
    if (test_wanted("crowd")) crowds(story);
    if (test_wanted("turns")) by_turns(story);
    if (test_wanted("sessions")) sessions(story);
    if (test_wanted("forms")) forms(story);
    if (test_wanted("occupied")) occupied(story);
    if (test_wanted("refused")) refused(story);
    hybrid_model_destroy(story);
    return test_end();
}
