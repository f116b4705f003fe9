/* Streams and what sessions are made of them: prompts, pieces, slices, contexts that are shared, messages that are
 * changed, answers that are begun, broken off and made as asked. */
#include "interface.h"

static const char story_model[] = "examples/data/stories260K-q8_0.gguf";
static const char rules[] = "Tell stories about a little girl named Lily, who lives in a big house near the park with "
                            "her mom, her dad and a cat that likes to sleep in the sun all day long.";

static int64_t n_computed; /* tokens that went through the model */
static void count_tokens(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                         int64_t stride)
{
    (void)user, (void)data, (void)n_cols, (void)stride;
    if (layer < 0 && !strcmp(name, "embd")) n_computed += n_rows;
}

static hybrid_context *context_of(hybrid_model *m, int32_t n_ctx, int32_t n_seq)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = n_seq;
    d.trace = count_tokens;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

static hybrid_session *session_of(hybrid_model *m, hybrid_session_desc d)
{
    hybrid_session *s = NULL;
    hybrid_error e;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    return s;
}

static hybrid_session_info info_of(hybrid_session *s)
{
    hybrid_session_info i;
    hybrid_session_describe(s, &i);
    return i;
}

/* All of an answer: by next, or in slices of so many microseconds. Returns the calls. */
static char text[16384];
static int read_all(hybrid_session *s, int64_t budget_us)
{
    hybrid_piece piece;
    const char *p;
    int n = 0;
    text[0] = 0;
    if (budget_us < 0)
        for (; (p = hybrid_session_next(s)) != NULL; n++) strcat(text, p);
    else
        do {
            n++;
            CHECK(!hybrid_session_step(s, (uint64_t)budget_us, &piece), "a step");
            CHECK(strlen(piece.text) == piece.size, "a size");
            strcat(text, piece.text);
        } while (!piece.stop && n < 100000);
    return n;
}

/* ---- prompts ---- */

static void prompts(hybrid_model *m)
{
    const hybrid_chat_message talk[] = { { "system", "Be kind." }, { "user", "Hello." } };
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(m);
    hybrid_prompt_desc d;
    hybrid_ids ids;
    hybrid_error e;
    int32_t want[128];
    char back[256];
    size_t n;
    TEST("prompts");
    memset(&d, 0, sizeof d);
    memset(&ids, 0, sizeof ids);
    d.messages = talk;
    d.n_messages = 2;
    CHECK(!hybrid_prompt(m, &d, &ids, &e), "%s", e.message);
    CHECK(!hybrid_tokenize(tok, "Be kind.\n\nUser: Hello.\nAssistant:", 33, HYBRID_TOKENIZE_ADD_SPECIAL, want, 128, &n,
                           &e),
          "%s", e.message);
    CHECK(ids.n == n && !memcmp(ids.data, want, n * sizeof *want), "%d tokens, not %d", (int)ids.n, (int)n);
    d.answer = "My";
    CHECK(!hybrid_prompt(m, &d, &ids, &e), "%s", e.message);
    CHECK(!hybrid_detokenize(tok, ids.data, ids.n, 0, back, sizeof back, &n, &e), "%s", e.message);
    CHECK(n == 36 && !memcmp(back + n - 13, "Assistant: My", 13), "'%.*s'", (int)n, back);
    d.no_answer = true;
    CHECK(!hybrid_prompt(m, &d, &ids, &e), "%s", e.message);
    CHECK(!hybrid_detokenize(tok, ids.data, ids.n, 0, back, sizeof back, &n, &e), "%s", e.message);
    CHECK(n == 23 && back[n - 1] == '\n', "'%.*s'", (int)n, back);
    memset(&d, 0, sizeof d);
    d.text = "";
    CHECK(!hybrid_prompt(m, &d, &ids, &e) && ids.n == 1 && ids.data[0] == hybrid_token_role_id(tok, HYBRID_ROLE_BOS),
          "nothing begins with BOS");
    d.follows = true;
    CHECK(!hybrid_prompt(m, &d, &ids, &e) && !ids.n, "nothing more is nothing");
    d.text = "and";
    CHECK(!hybrid_prompt(m, &d, &ids, &e) && ids.n && ids.data[0] != 1, "what follows has no BOS");
    hybrid_ids_free(&ids);
    CHECK(!ids.data && !ids.runtime, "freed");
}

/* ---- a stream by itself: the text of a session, ids and log-probabilities by hand ---- */

static double logprob_of(const float *l, int n, int32_t id)
{
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) sum += exp((double)l[i] - (double)l[id]);
    return -log(sum);
}

static void by_hand(hybrid_model *m)
{
    const int n_vocab = model_info(m).n_vocab;
    hybrid_context *c = context_of(m, 256, 1), *hand = context_of(m, 256, 1);
    hybrid_stream_desc d;
    hybrid_stream *s = NULL;
    hybrid_stream_info info;
    hybrid_prompt_desc pd;
    hybrid_piece piece;
    hybrid_ids ids;
    hybrid_error e;
    char joined[4096] = "", back[4096];
    const int32_t *all;
    size_t n, i, k = 0;
    TEST("a stream, by hand");
    memset(&d, 0, sizeof d);
    memset(&pd, 0, sizeof pd);
    memset(&ids, 0, sizeof ids);
    d.max_tokens = 30;
    d.logprobs = true;
    pd.text = "Once upon a time";
    CHECK(!hybrid_prompt(m, &pd, &ids, &e), "%s", e.message);
    CHECK(!hybrid_stream_create(c, &d, &s, &e), "%s", e.message);
    CHECK(!hybrid_stream_begin(s, ids.data, ids.n, &e), "%s", e.message);
    CHECK(!hybrid_batch_add(hand, 0, ids.data, ids.n, &e) && !hybrid_decode(hand, &e), "%s", e.message);
    while (!hybrid_stream_next(s, &piece, &e) && piece.size) {
        strcat(joined, piece.text);
        CHECK(piece.kind == HYBRID_PIECE_ANSWER, "a kind");
        for (i = 0; i < piece.n_ids; i++, k++) {
            const float *logits = hybrid_logits(hand, 0);
            const double want = logprob_of(logits, n_vocab, piece.ids[i]);
            CHECK(fabs(want - (double)piece.logprobs[i]) < 1e-5, "token %d: %g, not %g", (int)k,
                  (double)piece.logprobs[i], want);
            CHECK(!hybrid_batch_add(hand, 0, &piece.ids[i], 1, &e) && !hybrid_decode(hand, &e), "%s", e.message);
        }
    }
    CHECK(piece.stop == HYBRID_STOP_LIMIT && k == 30, "%d tokens, and then %d", (int)k, (int)piece.stop);
    all = hybrid_stream_ids(s, &n);
    CHECK(n == ids.n + 30, "%d ids", (int)n);
    CHECK(!hybrid_detokenize(hybrid_model_tokenizer(m), all, n, 0, back, sizeof back, &i, &e), "%s", e.message);
    CHECK(i == 16 + strlen(joined) && !memcmp(back + 16, joined, i - 16), "'%s' is not '%.*s'", joined, (int)i, back);
    hybrid_stream_describe(s, &info);
    CHECK(info.n_generated == 30 && info.n_prompt == (int)ids.n && info.n_max == 256 && info.seq == 0, "%d %d",
          info.n_generated, info.n_prompt);
    hybrid_ids_free(&ids);
    hybrid_stream_destroy(s);
    CHECK(!hybrid_stream_create(c, &d, &s, &e), "its sequence is free again: %s", e.message);
    hybrid_stream_destroy(s);
    hybrid_context_destroy(c);
    hybrid_context_destroy(hand);
}

/* ---- slices ---- */

static void slices(hybrid_model *m)
{
    static const uint64_t budgets[] = { 0, 50, 2000, 1000000 };
    hybrid_session_desc d;
    hybrid_session *s;
    char whole[2][4096];
    int i, k, calls;
    TEST("slices");
    memset(&d, 0, sizeof d);
    d.system = rules;
    d.max_tokens = 24;
    d.sampler.temperature = 0.8f;
    d.sampler.repetition_penalty = 1.1f;
    for (i = -1; i < COUNT(budgets); i++) {
        s = session_of(m, d);
        for (k = 0; k < 2; k++) {
            CHECK(!hybrid_session_say(s, k ? "And then?" : "Begin."), "say");
            calls = read_all(s, i < 0 ? -1 : (int64_t)budgets[i]);
            if (i < 0) strcpy(whole[k], text);
            CHECK(!strcmp(whole[k], text), "budget %d, turn %d: '%s' is not '%s'", i, k, text, whole[k]);
            if (!i) CHECK(calls > 100, "only %d calls", calls);
        }
        hybrid_session_destroy(s);
    }
}

/* ---- one context for several ---- */

static void shared(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 1024, 4);
    hybrid_session_desc d;
    hybrid_session *s[4], *alone;
    hybrid_error e;
    char answers[4][4096], say[32];
    int64_t first = 0;
    int i;
    TEST("a context that is shared");
    memset(&d, 0, sizeof d);
    d.system = rules;
    d.max_tokens = 10;
    d.context_shared = c;
    for (i = 0; i < 4; i++) {
        s[i] = session_of(m, d);
        n_computed = 0;
        sprintf(say, "Say %d.", i);
        CHECK(!hybrid_session_say(s[i], say), "say");
        read_all(s[i], i == 2 ? 100 : -1);
        strcpy(answers[i], text);
        if (!i)
            first = n_computed;
        else
            CHECK(n_computed < first / 3 && info_of(s[i]).n_cached > 40,
                  "session %d computes %d of %d tokens, %d cached", i, (int)n_computed, (int)first,
                  info_of(s[i]).n_cached);
    }
    CHECK(hybrid_session_create(m, &d, &alone, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "n_seq"), "a fifth");
    d.context_shared = NULL;
    for (i = 0; i < 4; i++) {
        alone = session_of(m, d);
        sprintf(say, "Say %d.", i);
        CHECK(!hybrid_session_say(alone, say), "say");
        read_all(alone, -1);
        CHECK(!strcmp(text, answers[i]), "session %d: '%s' is not '%s'", i, answers[i], text);
        hybrid_session_destroy(alone);
    }
    for (i = 0; i < 4; i++) hybrid_session_destroy(s[i]);
    CHECK(hybrid_context_room(c) >= 1024, "all pages are free again");
    hybrid_context_destroy(c);
}

/* One is in the middle of a slice when the other speaks, is broken off, or ends. */
static void beside(hybrid_model *m, const char *said)
{
    hybrid_context *c = context_of(m, 512, 2);
    hybrid_session_desc d;
    hybrid_session *a, *b;
    hybrid_piece piece;
    char want[4096], other[4096];
    int k;
    TEST("one beside the other");
    memset(&d, 0, sizeof d);
    d.max_tokens = 12;
    a = session_of(m, d);
    CHECK(!hybrid_session_say(a, "Who is Tim?"), "say");
    read_all(a, -1);
    strcpy(other, text);
    hybrid_session_reset(a);
    CHECK(!hybrid_session_say(a, said), "say");
    read_all(a, -1);
    strcpy(want, text);
    hybrid_session_destroy(a);
    d.context_shared = c;
    for (k = 0; k < 5; k++) {
        a = session_of(m, d);
        b = session_of(m, d);
        CHECK(!hybrid_session_say(a, said) && !hybrid_session_step(a, 0, &piece) && !piece.size, "begun");
        if (k == 1) hybrid_session_stop(a);
        if (k == 2) CHECK(!hybrid_session_say(a, "No.") && !hybrid_session_cut(a, 0), "said, and taken back");
        if (k == 3) hybrid_session_destroy(a);
        if (k == 4) hybrid_session_reset(a);
        CHECK(!hybrid_session_say(b, "Who is Tim?"), "say");
        CHECK(!hybrid_session_step(b, 0, &piece), "a step");
        read_all(b, 0);
        CHECK(!strcmp(text, other), "%d: '%s' is not '%s'", k, text, other);
        if (k != 3) {
            if (k) CHECK(!hybrid_session_cut(a, 0) && !hybrid_session_say(a, said), "say");
            read_all(a, -1);
            CHECK(!strcmp(text, want), "%d: '%s' is not '%s'", k, text, want);
            hybrid_session_destroy(a);
        }
        hybrid_session_destroy(b);
    }
    CHECK(hybrid_context_room(c) >= 512, "all pages are free again");
    hybrid_context_destroy(c);
}

/* Positions run out: what rests makes room, and is computed again; what cannot fit says so. */
static void room_for_all(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 128, 2);
    hybrid_session_desc d;
    hybrid_session *a, *b, *alone;
    hybrid_error e;
    char want[4096];
    TEST("room for all");
    memset(&d, 0, sizeof d);
    d.max_tokens = 20;
    alone = session_of(m, d);
    CHECK(!hybrid_session_complete(alone, rules), "complete");
    read_all(alone, -1);
    CHECK(!hybrid_session_complete(alone, " The end."), "complete");
    read_all(alone, -1);
    strcpy(want, text);
    hybrid_session_destroy(alone);
    d.context_shared = c;
    a = session_of(m, d);
    b = session_of(m, d);
    CHECK(!hybrid_session_complete(a, rules), "complete");
    read_all(a, -1);
    CHECK(!hybrid_session_complete(b, rules + 1), "complete");
    read_all(b, -1);
    CHECK(!hybrid_session_result(b, &e) && info_of(a).n_used == 0, "%s; %d stay", e.message, info_of(a).n_used);
    CHECK(!hybrid_session_complete(a, " The end."), "complete");
    read_all(a, -1);
    CHECK(!strcmp(text, want), "'%s' is not '%s'", text, want);
    CHECK(!hybrid_session_complete(b, " A"), "complete");
    CHECK(hybrid_session_next(b) && !hybrid_session_complete(a, " B"), "both run");
    CHECK(!hybrid_session_next(a) && hybrid_session_result(a, &e) == HYBRID_ERROR_CONTEXT_FULL, "there is no room");
    CHECK(strstr(e.message, "n_ctx"), "%s", e.message);
    hybrid_session_destroy(a);
    hybrid_session_destroy(b);
    hybrid_context_destroy(c);
}

/* ---- a crowd ---- */

enum { CROWD = 6 };
typedef struct voice {
    char text[4096];
    int n_pieces, stop;
} voice;

static hybrid_session *voice_of(hybrid_model *m, hybrid_context *c, hybrid_session_desc d, voice *v)
{
    d.context_shared = c;
    d.user = v;
    memset(v, 0, sizeof *v);
    return session_of(m, d);
}

/* Steps until none of them has more to say, or `steps` are over. */
static void crowd_talks(hybrid_crowd *w, hybrid_session **list, int n, uint64_t budget_us, int steps)
{
    hybrid_piece piece;
    hybrid_session *who;
    hybrid_error e;
    int k, i, left = n;
    for (k = 0; k < steps && left; k++) {
        CHECK(!hybrid_crowd_step(w, budget_us, &e), "%s", e.message);
        while ((who = hybrid_crowd_next(w, &piece)) != NULL) {
            voice *v = (voice *)hybrid_session_user(who);
            strcat(v->text, piece.text);
            v->n_pieces++;
            if (piece.stop) v->stop = piece.stop;
        }
        for (i = left = 0; i < n; i++) left += info_of(list[i]).stop == HYBRID_STOP_NONE;
    }
}

static void crowd(hybrid_model *m, const char *said, bool can_fork)
{
    hybrid_context *c = context_of(m, 1024, CROWD);
    hybrid_crowd *w = NULL;
    hybrid_session_desc d;
    hybrid_session *s[CROWD], *alone;
    hybrid_error e;
    voice v[CROWD];
    char say[64], both[8192];
    int i, turn, forked;
    TEST("a crowd");
    memset(&d, 0, sizeof d);
    d.system = said;
    d.max_tokens = 12;
    d.sampler.temperature = 0.7f;
    CHECK(!hybrid_crowd_create(c, &w, &e), "%s", e.message);
    for (i = 0; i < CROWD; i++) {
        d.sampler.seed = (uint64_t)i;
        s[i] = voice_of(m, c, d, &v[i]);
        CHECK(!hybrid_crowd_add(w, s[i], 1, &e), "%s", e.message);
    }
    n_computed = 0;
    for (turn = 0; turn < 2; turn++) {
        for (i = 0; i < CROWD; i++) {
            sprintf(say, "Say %d%d.", i, turn);
            CHECK(!hybrid_session_say(s[i], say), "say");
        }
        crowd_talks(w, s, CROWD, turn ? UINT64_MAX : 0, 100000);
        for (i = forked = 0; i < CROWD; i++) forked += info_of(s[i]).n_cached >= 32;
        if (!turn && can_fork)
            CHECK(n_computed < info_of(s[0]).n_prompt + CROWD * (12 + 24) && forked == CROWD - 1,
                  "%d tokens were computed, with prompts of %d; %d have forked", (int)n_computed,
                  info_of(s[0]).n_prompt, forked);
    }
    for (i = 0; i < CROWD; i++) {
        d.sampler.seed = (uint64_t)i;
        alone = session_of(m, d);
        both[0] = 0;
        for (turn = 0; turn < 2; turn++) {
            sprintf(say, "Say %d%d.", i, turn);
            CHECK(!hybrid_session_say(alone, say), "say");
            read_all(alone, -1);
            strcat(both, text);
        }
        CHECK(!strcmp(both, v[i].text), "voice %d: '%s' is not '%s'", i, v[i].text, both);
        CHECK(v[i].stop == (int)info_of(alone).stop, "voice %d stops for %d", i, v[i].stop);
        hybrid_session_destroy(alone);
    }
    hybrid_crowd_destroy(w);
    for (i = 0; i < CROWD; i++) hybrid_session_destroy(s[i]);
    hybrid_context_destroy(c);
}

/* Turns in proportion; who reads a long prompt is neither waited for nor starved. */
static void turns(hybrid_model *m)
{
    static const float priorities[] = { 1, 3, 0.5f };
    hybrid_context *c = context_of(m, 2048, 4);
    hybrid_crowd *w = NULL;
    hybrid_session_desc d;
    hybrid_session *s[4];
    hybrid_error e;
    voice v[4];
    int i, n[3];
    TEST("turns of a crowd");
    memset(&d, 0, sizeof d);
    d.sampler.temperature = 1.5f;
    CHECK(!hybrid_crowd_create(c, &w, &e), "%s", e.message);
    for (i = 0; i < 4; i++) s[i] = voice_of(m, c, d, &v[i]);
    for (i = 0; i < 3; i++) {
        CHECK(!hybrid_crowd_add(w, s[i], priorities[i], &e), "%s", e.message);
        CHECK(!hybrid_session_complete(s[i], "Once upon a time"), "complete");
    }
    crowd_talks(w, s, 3, UINT64_MAX, 90);
    for (i = 0; i < 3; i++) n[i] = info_of(s[i]).n_generated;
    CHECK(n[1] > 2 * n[0] && n[1] < 4 * n[0] && n[0] > n[2] && n[2] > 5, "%d, %d and %d tokens", n[0], n[1], n[2]);
    for (i = 0; i < 3; i++) CHECK(!hybrid_crowd_add(w, s[i], 1, &e), "%s", e.message);
    CHECK(!hybrid_crowd_add(w, s[3], 1, &e), "%s", e.message);
    for (i = 0; i < 30; i++) CHECK(!hybrid_session_add(s[3], "user", "And when all of them were at home?"), "add");
    CHECK(!hybrid_session_answer(s[3], NULL, NULL), "answer");
    for (i = 0; i < 3; i++) v[i].n_pieces = 0;
    for (i = 0; i < 300 && !v[3].n_pieces; i++) crowd_talks(w, s, 3, UINT64_MAX, 1);
    CHECK(info_of(s[3]).n_prompt > 400, "a prompt of %d", info_of(s[3]).n_prompt);
    CHECK(v[3].n_pieces && v[0].n_pieces > 4 && v[0].n_pieces < 60, "%d pieces of another beside the prompt",
          v[0].n_pieces);
    hybrid_crowd_remove(w, s[0]);
    hybrid_crowd_remove(w, s[0]);
    v[0].n_pieces = v[3].n_pieces = 0;
    crowd_talks(w, s + 1, 1, UINT64_MAX, 10);
    CHECK(v[0].n_pieces == 0 && v[3].n_pieces > 2, "who is not in it says nothing, and the others go on");
    hybrid_crowd_destroy(w);
    for (i = 0; i < 4; i++) hybrid_session_destroy(s[i]);
    hybrid_context_destroy(c);
}

/* One of them cannot go on: the others do. */
static void crowd_is_full(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 128, 2);
    hybrid_crowd *w = NULL;
    hybrid_session_desc d;
    hybrid_session *s[2];
    hybrid_error e;
    voice v[2];
    int i;
    TEST("a crowd without room");
    memset(&d, 0, sizeof d);
    CHECK(!hybrid_crowd_create(c, &w, &e), "%s", e.message);
    for (i = 0; i < 2; i++) {
        s[i] = voice_of(m, c, d, &v[i]);
        CHECK(!hybrid_crowd_add(w, s[i], 1, &e), "%s", e.message);
        CHECK(!hybrid_session_complete(s[i], i ? rules + 1 : rules), "complete");
    }
    crowd_talks(w, s, 2, UINT64_MAX, 1000);
    for (i = 0; i < 2; i++)
        CHECK(v[i].n_pieces > 5 && v[i].stop && v[i].stop != HYBRID_STOP_ERROR, "%d: %d pieces, and then %d", i,
              v[i].n_pieces, v[i].stop);
    hybrid_crowd_destroy(w);
    for (i = 0; i < 2; i++) hybrid_session_destroy(s[i]);
    hybrid_context_destroy(c);
}

/* What is held back, as it could begin a stop text, is shown when the context is full; and it is in the message. */
static void crowd_shows_the_rest(hybrid_model *m)
{
    static voice v[2][2];
    static char ends[2][8];
    hybrid_session_desc d;
    hybrid_session *s[2];
    hybrid_error e;
    int pass, i, full = 0;
    TEST("the last words of a crowd without room");
    for (pass = 0; pass < 2; pass++) {
        hybrid_context *c = context_of(m, 128, 2);
        hybrid_crowd *w = NULL;
        CHECK(!hybrid_crowd_create(c, &w, &e), "%s", e.message);
        for (i = 0; i < 2; i++) {
            const char *stop = ends[i];
            memset(&d, 0, sizeof d);
            d.stops = &stop;
            d.n_stops = (size_t)pass;
            s[i] = voice_of(m, c, d, &v[pass][i]);
            CHECK(!hybrid_crowd_add(w, s[i], 1, &e), "%s", e.message);
            CHECK(!hybrid_session_say(s[i], i ? "Once upon a time" : "There was a"), "say");
        }
        crowd_talks(w, s, 2, UINT64_MAX, 1000);
        for (i = 0; i < 2; i++) {
            const char *said = v[pass][i].text, *kept = hybrid_session_message(s[i], 1).content;
            const size_t n = strlen(said);
            CHECK(kept && !strcmp(kept, said), "%d: the message is '%s', not '%s'", i, kept, said);
            CHECK(!pass || !strcmp(said, v[0][i].text), "%d: '%s', without stop text '%s'", i, said, v[0][i].text);
            if (n < 3 || v[pass][i].stop != HYBRID_STOP_CONTEXT) continue;
            memcpy(ends[i], said + n - 3, 3);
            strcpy(ends[i] + 3, "\x01");
            full += pass;
        }
        hybrid_crowd_destroy(w);
        for (i = 0; i < 2; i++) hybrid_session_destroy(s[i]);
        hybrid_context_destroy(c);
    }
    CHECK(full > 0, "none of them got full");
}

/* ---- messages ---- */

static bool is_message(hybrid_session *s, size_t i, const char *role, const char *content)
{
    const hybrid_chat_message m = hybrid_session_message(s, i);
    return m.role && !strcmp(m.role, role) && !strcmp(m.content, content);
}

static void messages(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s, *fresh;
    char first[4096], second[4096];
    int user;
    TEST("messages");
    memset(&d, 0, sizeof d);
    d.system = "Be kind.";
    d.max_tokens = 8;
    d.user = &user;
    s = session_of(m, d);
    CHECK(hybrid_session_user(s) == &user && hybrid_session_count(s) == 1, "one message");
    CHECK(!hybrid_session_say(s, "One."), "say");
    CHECK(hybrid_session_count(s) == 3 && is_message(s, 2, "assistant", ""), "an answer that has not begun");
    read_all(s, -1);
    strcpy(first, text);
    CHECK(is_message(s, 0, "system", "Be kind.") && is_message(s, 1, "user", "One.") &&
              is_message(s, 2, "assistant", first) && !hybrid_session_message(s, 3).role,
          "three messages");
    CHECK(!hybrid_session_say(s, "Two."), "say");
    read_all(s, -1);
    strcpy(second, text);
    CHECK(hybrid_session_count(s) == 5 && is_message(s, 4, "assistant", second), "five messages");
    /* said, changed, and answered once more: as if it had been said so */
    CHECK(!hybrid_session_edit(s, 3, "Three.") && !hybrid_session_cut(s, 4) && hybrid_session_count(s) == 4, "changed");
    CHECK(!hybrid_session_answer(s, NULL, NULL), "answered");
    CHECK(info_of(s).n_cached > 15, "%d are known", info_of(s).n_cached);
    read_all(s, -1);
    strcpy(second, text);
    fresh = session_of(m, d);
    CHECK(!hybrid_session_add(fresh, "user", "One.") && !hybrid_session_add(fresh, "assistant", first), "added");
    CHECK(!hybrid_session_say(fresh, "Three."), "say");
    read_all(fresh, -1);
    CHECK(!strcmp(second, text), "'%s' is not '%s'", second, text);
    /* the system prompt, too; an answer that runs is broken off */
    CHECK(!hybrid_session_say(fresh, "Four.") && hybrid_session_next(fresh), "an answer");
    CHECK(!hybrid_session_edit(fresh, 0, "Be mean.") && info_of(fresh).stop == HYBRID_STOP_BROKEN, "changed");
    CHECK(is_message(fresh, 0, "system", "Be mean.") && hybrid_session_count(fresh) == 7 && !hybrid_session_next(fresh),
          "%d messages", (int)hybrid_session_count(fresh));
    CHECK(!hybrid_session_add(fresh, "tool", "{}") && is_message(fresh, 7, "tool", "{}"), "a tool");
    CHECK(!hybrid_session_cut(fresh, 0) && !hybrid_session_count(fresh), "nothing is left");
    hybrid_session_destroy(s);
    hybrid_session_destroy(fresh);
}

static void broken_off(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s;
    hybrid_piece piece;
    int k, n;
    TEST("broken off");
    memset(&d, 0, sizeof d);
    d.system = rules;
    d.max_tokens = 20;
    d.context.trace = count_tokens;
    s = session_of(m, d);
    CHECK(!hybrid_session_say(s, "Begin.") && !hybrid_session_step(s, 0, &piece) && !piece.size, "in the prompt");
    hybrid_session_stop(s);
    CHECK(info_of(s).stop == HYBRID_STOP_BROKEN && !hybrid_session_next(s) && is_message(s, 2, "assistant", ""),
          "before a word");
    CHECK(!hybrid_session_say(s, "Go on."), "say");
    text[0] = 0;
    for (k = 0; k < 3; k++) strcat(text, hybrid_session_next(s));
    hybrid_session_stop(s);
    hybrid_session_stop(s);
    n = info_of(s).n_used;
    CHECK(is_message(s, 4, "assistant", text) && !hybrid_session_next(s), "'%s' stays", text);
    n_computed = 0;
    CHECK(!hybrid_session_say(s, "More."), "say");
    read_all(s, -1);
    CHECK(n_computed < 60 && info_of(s).n_cached > n - 15, "%d computed, %d of %d kept", (int)n_computed,
          info_of(s).n_cached, n);
    hybrid_session_destroy(s);
}

/* ---- answers as asked ---- */

static void as_asked(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_answer_desc a;
    hybrid_sampler_desc warm;
    hybrid_session *s, *t;
    char plain[4096], other[4096], joined[8192];
    int k;
    TEST("answers as asked");
    memset(&d, 0, sizeof d);
    memset(&a, 0, sizeof a);
    memset(&warm, 0, sizeof warm);
    d.max_tokens = 12;
    warm.temperature = 1;
    for (k = 0; k < 2; k++) {
        s = session_of(m, d);
        warm.seed = 7;
        a.sampler = &warm;
        a.max_tokens = 20;
        CHECK(!hybrid_session_answer(s, "Begin.", &a), "answer");
        read_all(s, -1);
        if (k) CHECK(!strcmp(other, text), "one seed, one text");
        strcpy(other, text);
        CHECK(info_of(s).n_generated == 20, "%d tokens", info_of(s).n_generated);
        CHECK(!hybrid_session_cut(s, 1), "cut");
        CHECK(!hybrid_session_answer(s, NULL, NULL), "answer");
        read_all(s, -1);
        if (k) CHECK(!strcmp(plain, text), "greedy again");
        strcpy(plain, text);
        CHECK(info_of(s).n_generated == 12 && strcmp(plain, other), "%d tokens", info_of(s).n_generated);
        hybrid_session_destroy(s);
    }
    /* begun for the model: what it goes on with is what it says after the same words */
    s = session_of(m, d);
    t = session_of(m, d);
    memset(&a, 0, sizeof a);
    a.begin = "Once there was";
    CHECK(!hybrid_session_answer(s, "Begin.", &a), "answer");
    read_all(s, -1);
    CHECK(!hybrid_session_complete(t, "User: Begin.\nAssistant: Once there was"), "complete");
    strcpy(plain, text);
    read_all(t, -1);
    CHECK(!strcmp(plain, text), "'%s' is not '%s'", plain, text);
    sprintf(joined, "Once there was%s", plain);
    CHECK(is_message(s, 1, "assistant", joined), "'%s' is not '%s'", hybrid_session_message(s, 1).content, joined);
    hybrid_session_destroy(s);
    hybrid_session_destroy(t);
}

/* A context that is full drops down to its share, and the turns after that compute little. */
static void drops(hybrid_model *m)
{
    static const float keeps[] = { 0, 0.3f, 1 };
    int turns[COUNT(keeps)], i, k;
    TEST("a full context");
    for (i = 0; i < COUNT(keeps); i++) {
        hybrid_session_desc d;
        hybrid_session *s;
        int before = 0;
        memset(&d, 0, sizeof d);
        d.context.n_ctx = 256;
        d.max_tokens = 8;
        d.keep = keeps[i];
        s = session_of(m, d);
        for (k = turns[i] = 0; k < 40; k++) {
            const int forgot = info_of(s).n_forgotten;
            CHECK(!hybrid_session_say(s, "Say some more."), "turn %d", k);
            if (info_of(s).n_forgotten > forgot) {
                turns[i]++;
                if (keeps[i] < 1)
                    CHECK(info_of(s).n_prompt <= 256 * (keeps[i] > 0 ? (double)keeps[i] : 0.5), "%d of 256 stay",
                          info_of(s).n_prompt);
            } else if (k)
                CHECK(info_of(s).n_cached > before - 12, "turn %d: %d of %d known", k, info_of(s).n_cached, before);
            read_all(s, -1);
            before = info_of(s).n_used;
        }
        hybrid_session_destroy(s);
    }
    CHECK(turns[0] > 1 && turns[1] > 1 && turns[1] <= turns[0] && turns[0] * 2 < turns[2], "%d, %d and %d turns forget",
          turns[0], turns[1], turns[2]);
}

/* Models that carry a state from token to token. */
static void with_a_state(const char *path)
{
    hybrid_model_desc md;
    hybrid_model *m = NULL;
    hybrid_error e;
    TEST(path);
    memset(&md, 0, sizeof md);
    md.path = path;
    CHECK(!hybrid_model_load(NULL, &md, &m, &e), "%s", e.message);
    if (!m) return;
    beside(m, "Begin.");
    crowd(m, "Be.", false);
    hybrid_model_destroy(m);
}

int main(void)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.path = story_model;
    CHECK(!hybrid_model_load(NULL, &d, &m, &e), "%s", e.message);
    if (m) {
        prompts(m);
        by_hand(m);
        slices(m);
        shared(m);
        beside(m, rules);
        room_for_all(m);
        crowd(m, rules, true);
        crowd(m, "Tell stories about Lily, who lives in a big house near the park.", true);
        turns(m);
        crowd_is_full(m);
        crowd_shows_the_rest(m);
        messages(m);
        broken_off(m);
        as_asked(m);
        drops(m);
    }
    hybrid_model_destroy(m);
    with_a_state("tests/oracle/data/models/arwkv7.gguf");
    with_a_state("tests/oracle/data/models/lfm2.gguf");
    return test_end();
}
