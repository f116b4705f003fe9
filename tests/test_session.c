/* Conversations: streaming, stop texts, limits, what is reused of the cache, forgetting, errors that leave the
 * session usable. */
#include "interface.h"

static const char story_model[] = "examples/data/stories260K-q8_0.gguf";

static hybrid_session *session_of(hybrid_model *m, hybrid_session_desc d)
{
    hybrid_session *s = NULL;
    hybrid_error err;
    CHECK(!hybrid_session_create(m, &d, &s, &err), "%s", err.message);
    return s;
}

static char answer[16384];
static int read_answer(hybrid_session *s)
{
    const char *piece;
    int n = 0;
    answer[0] = 0;
    while ((piece = hybrid_session_next(s)) != NULL && strlen(answer) + strlen(piece) < sizeof answer) {
        CHECK(piece[0], "an empty piece");
        strcat(answer, piece);
        n++;
    }
    return n;
}

static hybrid_session_info info_of(hybrid_session *s)
{
    hybrid_session_info i;
    hybrid_session_describe(s, &i);
    return i;
}

static void stops_and_limits(hybrid_model *m)
{
    static const char *const stops[] = { "Lily", "zzz" };
    hybrid_session_desc d;
    hybrid_session *s;
    char whole[16384];
    TEST("stops and limits");
    memset(&d, 0, sizeof d);
    d.max_tokens = 40;
    s = session_of(m, d);
    CHECK(!hybrid_session_complete(s, "Once upon a time"), "complete");
    read_answer(s);
    CHECK(strstr(answer, "there was a little girl named Lily"), "'%s' %d", answer, info_of(s).n_generated);
    CHECK(info_of(s).stop == HYBRID_STOP_LIMIT, "'%s' %d", answer, info_of(s).n_generated);
    CHECK(info_of(s).n_generated == 40, "'%s' %d", answer, info_of(s).n_generated);
    CHECK(!hybrid_session_next(s) && !hybrid_session_result(s, NULL), "an ended answer stays ended");
    strcpy(whole, answer);
    CHECK(!hybrid_session_complete(s, ""), "goes on where it stopped");
    read_answer(s);
    strcat(whole, answer);
    hybrid_session_destroy(s);
    d.max_tokens = 80;
    s = session_of(m, d);
    CHECK(!hybrid_session_complete(s, "Once upon a time"), "complete");
    read_answer(s);
    CHECK(!strcmp(whole, answer), "two halves are the whole:\n%s\n%s", whole, answer);
    hybrid_session_destroy(s);
    d.stops = stops;
    d.n_stops = 2;
    s = session_of(m, d);
    CHECK(!hybrid_session_complete(s, "Once upon a time"), "complete");
    read_answer(s);
    CHECK(!strcmp(answer, ", there was a little girl named ") && info_of(s).stop == HYBRID_STOP_TEXT, "'%s'", answer);
    hybrid_session_destroy(s);
}

static void reuse(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s, *t;
    char first[16384];
    TEST("what is reused");
    memset(&d, 0, sizeof d);
    d.max_tokens = 12;
    d.system = "Tell stories.";
    s = session_of(m, d);
    t = session_of(m, d);
    CHECK(!hybrid_session_say(s, "Begin."), "say");
    read_answer(s);
    strcpy(first, answer);
    CHECK(!hybrid_session_say(s, "And then?"), "say");
    CHECK(info_of(s).n_cached > 10 && info_of(s).n_cached < info_of(s).n_prompt, "%d of %d tokens were known",
          info_of(s).n_cached, info_of(s).n_prompt);
    read_answer(s);
    strcpy(first, answer);
    /* the same words in a fresh session, the first answer not read but spoken again */
    CHECK(!hybrid_session_say(t, "Begin."), "say");
    read_answer(t);
    hybrid_session_reset(t);
    CHECK(info_of(t).n_used == 0, "reset leaves %d", info_of(t).n_used);
    CHECK(!hybrid_session_say(t, "Begin."), "say");
    read_answer(t);
    CHECK(!hybrid_session_say(t, "And then?"), "say");
    read_answer(t);
    CHECK(!strcmp(first, answer), "'%s' is not '%s'", answer, first);
    hybrid_session_destroy(s);
    hybrid_session_destroy(t);
}

static void full(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s;
    hybrid_error err;
    char long_text[4000];
    int i, before;
    hybrid_result r;
    TEST("a context that fills up");
    memset(&d, 0, sizeof d);
    d.context.n_ctx = 64;
    s = session_of(m, d);
    CHECK(!hybrid_session_complete(s, "Once upon a time"), "complete");
    read_answer(s);
    CHECK(info_of(s).stop == HYBRID_STOP_CONTEXT, "stop %d after %d", info_of(s).stop, info_of(s).n_used);
    CHECK(info_of(s).n_used >= 63, "stop %d after %d", info_of(s).stop, info_of(s).n_used);
    CHECK(strlen(answer) > 100, "stop %d after %d", info_of(s).stop, info_of(s).n_used);
    hybrid_session_reset(s);
    d.max_tokens = 8;
    hybrid_session_destroy(s);
    s = session_of(m, d);
    for (i = 0; i < 8; i++) {
        CHECK(!hybrid_session_say(s, "Say more."), "turn %d", i);
        CHECK(read_answer(s) > 0 || info_of(s).stop != HYBRID_STOP_NONE, "turn %d gives nothing", i);
        CHECK(info_of(s).n_prompt + 8 <= 64, "turn %d: a prompt of %d", i, info_of(s).n_prompt);
    }
    CHECK(info_of(s).n_forgotten > 2, "%d forgotten", info_of(s).n_forgotten);
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    before = info_of(s).n_used;
    r = hybrid_session_say(s, long_text);
    CHECK(r == HYBRID_ERROR_CONTEXT_FULL, "%d", r);
    CHECK(hybrid_session_result(s, &err) == r, "%d", r);
    CHECK(strstr(err.message, "n_ctx"), "%d", r);
    CHECK(!hybrid_session_next(s), "%d", r);
    CHECK(info_of(s).stop == HYBRID_STOP_ERROR && info_of(s).n_used <= before, "%d", info_of(s).n_used);
    CHECK(!hybrid_session_say(s, "Short."), "still usable");
    CHECK(read_answer(s) > 0, "still answers");
    hybrid_session_destroy(s);
}

static void odd_input(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s;
    TEST("odd input");
    memset(&d, 0, sizeof d);
    d.max_tokens = 5;
    s = session_of(m, d);
    CHECK(!hybrid_session_complete(s, ""), "an empty prompt begins with BOS");
    CHECK(read_answer(s) > 0, "and goes on");
    CHECK(!hybrid_session_say(s, "\xFF\xFE not \xC3 UTF-8 \xE2\x82"), "bytes that are not text");
    CHECK(read_answer(s) >= 0 && !hybrid_session_result(s, NULL), "are survived");
    CHECK(hybrid_session_say(s, NULL) == HYBRID_ERROR_INVALID && hybrid_session_say(NULL, "x") == HYBRID_ERROR_INVALID,
          "NULL");
    CHECK(!hybrid_session_say(s, ""), "an empty message");
    read_answer(s);
    d.max_tokens = -1;
    {
        hybrid_session *none;
        hybrid_error err;
        CHECK(hybrid_session_create(m, &d, &none, &err) == HYBRID_ERROR_INVALID && !none, "max_tokens -1");
    }
    hybrid_session_destroy(s);
}

static void seeds(hybrid_model *m)
{
    hybrid_session_desc d;
    hybrid_session *s;
    char first[16384];
    int i, other = 0;
    TEST("seeds");
    memset(&d, 0, sizeof d);
    d.max_tokens = 30;
    d.sampler.temperature = 1;
    for (i = 0; i < 4; i++) {
        d.sampler.seed = (uint64_t)(i / 2);
        s = session_of(m, d);
        CHECK(!hybrid_session_complete(s, "Once upon a time"), "complete");
        read_answer(s);
        if (i % 2)
            CHECK(!strcmp(first, answer), "one seed, one text");
        else {
            if (i) other = strcmp(first, answer) != 0;
            strcpy(first, answer);
        }
        hybrid_session_destroy(s);
    }
    CHECK(other, "another seed, another text");
}

/* What llama.cpp (token_to_piece without special) and Hugging Face (skip_special_tokens) leave out of a text:
 * control and unknown tokens. */
static void not_text(hybrid_model *m)
{
    hybrid_logit_bias only = { 0, INFINITY };
    hybrid_session_desc d;
    int32_t id;
    TEST("tokens that are not text");
    for (id = 0; id < 2; id++) {
        hybrid_session *s;
        memset(&d, 0, sizeof d);
        d.max_tokens = 3;
        only.id = id;
        d.sampler.bias = &only;
        d.sampler.n_bias = 1;
        CHECK(hybrid_token_kind(hybrid_model_tokenizer(m), id) == (id ? HYBRID_TOKEN_CONTROL : HYBRID_TOKEN_UNKNOWN),
              "the kind of %d", id);
        s = session_of(m, d);
        CHECK(!hybrid_session_complete(s, "Once"), "complete");
        read_answer(s);
        CHECK(!answer[0], "%d: '%s' %d", id, answer, info_of(s).stop);
        CHECK(info_of(s).stop == HYBRID_STOP_LIMIT, "%d: '%s' %d", id, answer, info_of(s).stop);
        CHECK(info_of(s).n_generated == 3, "%d: '%s' %d", id, answer, info_of(s).stop);
        hybrid_session_destroy(s);
    }
}

/* Models that carry a state from token to token: what cannot be cut is read again, and the answers are the same. */
static void with_a_state(const char *path)
{
    hybrid_model_desc md;
    hybrid_session_desc d;
    hybrid_model *m = NULL;
    hybrid_session *s, *t;
    hybrid_error err;
    char whole[16384];
    int k;
    TEST(path);
    memset(&md, 0, sizeof md);
    memset(&d, 0, sizeof d);
    md.path = path;
    CHECK(!hybrid_model_load(NULL, &md, &m, &err), "%s", err.message);
    if (!m) return;
    d.max_tokens = 12;
    s = session_of(m, d);
    d.max_tokens = 24;
    t = session_of(m, d);
    CHECK(!hybrid_session_complete(s, "x"), "complete");
    read_answer(s);
    strcpy(whole, answer);
    CHECK(whole[0], "an empty answer proves nothing");
    CHECK(!hybrid_session_complete(s, ""), "goes on where it stopped");
    CHECK(info_of(s).n_cached == info_of(s).n_prompt - 1, "%d of %d tokens were known", info_of(s).n_cached,
          info_of(s).n_prompt);
    read_answer(s);
    strcat(whole, answer);
    for (k = 0; k < 2; k++) {
        CHECK(!hybrid_session_complete(t, "x"), "complete");
        read_answer(t);
        CHECK(!strcmp(whole, answer), "in one go: '%s' is not '%s'", answer, whole);
        hybrid_session_reset(t);
        CHECK(info_of(t).n_used == 0, "reset leaves %d", info_of(t).n_used);
    }
    hybrid_session_reset(s); /* turns, of which the second begins as the first did, or is read again */
    for (k = 0; k < 2; k++) CHECK(!hybrid_session_say(s, k ? "And then?" : "Begin.") && read_answer(s) >= 0, "say");
    strcpy(whole, answer);
    d.max_tokens = 12;
    hybrid_session_destroy(t);
    t = session_of(m, d);
    CHECK(!hybrid_session_say(t, "End?"), "interrupted");
    CHECK(hybrid_session_next(t), "interrupted");
    CHECK(!hybrid_session_say(t, "End!"), "interrupted");
    hybrid_session_reset(t);
    for (k = 0; k < 2; k++) CHECK(!hybrid_session_say(t, k ? "And then?" : "Begin.") && read_answer(t) >= 0, "say");
    CHECK(!strcmp(whole, answer), "'%s' is not '%s'", answer, whole);
    hybrid_session_destroy(s);
    hybrid_session_destroy(t);
    hybrid_model_destroy(m);
}

int main(void)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.path = story_model;
    CHECK(!hybrid_model_load(NULL, &d, &m, &err), "%s", err.message);
    if (m) {
        stops_and_limits(m);
        reuse(m);
        full(m);
        odd_input(m);
        seeds(m);
        not_text(m);
    }
    hybrid_model_destroy(m);
    with_a_state("tests/oracle/data/models/arwkv7.gguf");
    with_a_state("tests/oracle/data/models/lfm2.gguf");
    return test_end();
}
