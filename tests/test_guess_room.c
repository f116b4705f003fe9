/* Guesses take nothing that somebody else needs (rows of logits, places in the batch, pages), and none is made that the
 * end of an answer leaves no room for. Each has its own test, as they do not change what an answer says, but when. */
#include "interface.h"
#include "speculation.h"

/* ---- a crowd: who waits for a turn, and how long ----------------------------------------------------------------- */

typedef struct member {
    int32_t n_prompt, max_tokens;
    int start; /* it begins after so many passes of the model */
    int first, last; /* passes of the model before its first piece, and before its end */
    hybrid_session_info info;
    char text[4096];
} member;

enum { MEMBERS = 5 };
static int passes;

static void count(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                  int64_t row_stride)
{
    (void)user;
    (void)layer;
    (void)data;
    (void)n_rows;
    (void)n_cols;
    (void)row_stride;
    passes += !strcmp(name, "embd");
}

/* Text of n tokens that says the same over and over. */
static void prompt_of(const hybrid_model *m, int32_t n, char *text, size_t size)
{
    int32_t ids[MOST];
    size_t n_ids = 0;
    *text = 0;
    do {
        strncat(text, n_ids % 2 ? " a" : " the", size - strlen(text) - 1);
        CHECK(!hybrid_tokenize(hybrid_model_tokenizer(m), text, strlen(text), HYBRID_TOKENIZE_ADD_SPECIAL, ids, MOST,
                               &n_ids, NULL),
              "tokens");
    } while (n_ids < (size_t)n);
}

static void crowd_of(hybrid_model *m, hybrid_speculation how, const hybrid_context_desc *room, member *members, int n)
{
    static const hybrid_logit_bias two[] = { { 261, 60 }, { 265, 60 } };
    hybrid_context *c = NULL;
    hybrid_context_desc cd = *room;
    hybrid_session *s[MEMBERS], *who;
    hybrid_crowd *crowd = NULL;
    hybrid_session_desc d;
    hybrid_piece p;
    hybrid_error e;
    char text[1024];
    bool begun[MEMBERS] = { false };
    int i, left = n;
    memset(&d, 0, sizeof d);
    cd.n_seq = LARGER(cd.n_seq, n);
    cd.trace = count;
    passes = 0;
    CHECK(!hybrid_context_create(m, &cd, &c, &e) && !hybrid_crowd_create(c, &crowd, &e), "%s", e.message);
    d.context_shared = c;
    d.speculation = how;
    d.sampler.bias = two; /* of two tokens, by chance: there is always something to guess, which comes or not */
    d.sampler.n_bias = 2;
    d.sampler.temperature = 3;
    for (i = 0; i < n; i++) {
        d.max_tokens = members[i].max_tokens;
        d.sampler.seed = 1 + (uint64_t)i;
        members[i].first = members[i].last = 0;
        members[i].text[0] = 0;
        s[i] = NULL;
        CHECK(!hybrid_session_create(m, &d, &s[i], &e), "%s", e.message);
        CHECK(!hybrid_crowd_add(crowd, s[i], 1, &e), "%s", e.message);
    }
    while (left && passes < 10000) {
        for (i = 0; i < n; i++) {
            if (begun[i] || passes < members[i].start) continue;
            prompt_of(m, members[i].n_prompt, text, sizeof text);
            CHECK(!hybrid_session_complete(s[i], text), "a text");
            begun[i] = true;
        }
        CHECK(!hybrid_crowd_step(crowd, UINT64_MAX, &e), "%s", e.message);
        while ((who = hybrid_crowd_next(crowd, &p)) != NULL) {
            for (i = 0; s[i] != who; i++) {}
            strcat(members[i].text, p.text);
            if (!members[i].first) members[i].first = passes;
            if (p.stop) members[i].last = passes;
            left -= p.stop != HYBRID_STOP_NONE;
        }
    }
    CHECK(!left, "%d have not ended", left);
    for (i = 0; i < n; i++) {
        hybrid_session_describe(s[i], &members[i].info);
        n_guessed += members[i].info.n_guessed;
        hybrid_session_destroy(s[i]);
    }
    hybrid_crowd_destroy(crowd);
    hybrid_context_destroy(c);
}

/* With guesses everybody says the same, ends for the same reason, and begins and ends no later. */
static void nobody_waits(hybrid_model *m, const hybrid_context_desc *room, member *members, int n)
{
    member plain[MEMBERS];
    hybrid_context_desc cd = *room;
    int i;
    cd.n_logits = 0;
    n_guessed = 0;
    crowd_of(m, HYBRID_SPECULATION_OFF, &cd, members, n);
    memcpy(plain, members, sizeof *members * (size_t)n);
    crowd_of(m, HYBRID_SPECULATION_ALWAYS, room, members, n);
    for (i = 0; i < n; i++) {
        const member *a = &members[i], *b = &plain[i];
        CHECK(!strcmp(a->text, b->text) && a->info.stop == b->info.stop, "%d of %d: '%s' (%d) is not '%s' (%d)", i, n,
              a->text, (int)a->info.stop, b->text, (int)b->info.stop);
        CHECK(b->info.stop == HYBRID_STOP_LIMIT, "%d of %d ended for %d", i, n, (int)b->info.stop);
        CHECK(a->first <= b->first && a->last <= b->last, "%d of %d: after %d and %d passes, not %d and %d", i, n,
              a->first, a->last, b->first, b->last);
    }
}

static void rows(hybrid_model *m)
{
    member members[MEMBERS];
    hybrid_context_desc room;
    int i;
    TEST("rows of logits");
    memset(&room, 0, sizeof room);
    room.n_ctx = 600;
    for (room.n_logits = MEMBERS; room.n_logits < MEMBERS + 6; room.n_logits += 2) {
        for (i = 0; i < MEMBERS; i++) {
            members[i].n_prompt = 10;
            members[i].max_tokens = 30;
            members[i].start = 0;
        }
        nobody_waits(m, &room, members, MEMBERS);
        CHECK(room.n_logits == MEMBERS || n_guessed > 0, "nothing was guessed");
    }
}

static void two(member members[2], int32_t prompt, int32_t most, int32_t other_prompt, int32_t other_most, int start)
{
    memset(members, 0, 2 * sizeof *members);
    members[0].n_prompt = prompt;
    members[0].max_tokens = most;
    members[1].n_prompt = other_prompt;
    members[1].max_tokens = other_most;
    members[1].start = start;
}

/* The batch holds n_ctx tokens: one that answers leaves the others' prompts their places. */
static void places(hybrid_model *m)
{
    member members[2];
    hybrid_context_desc room;
    int start;
    TEST("places of a batch");
    memset(&room, 0, sizeof room);
    room.n_ctx = 40;
    room.n_logits = 20;
    room.n_seq = 6; /* so that there are more pages than these two need */
    for (start = 2; start < 7; start++) {
        two(members, 5, 24, 33, 4, start);
        nobody_waits(m, &room, members, 2);
        CHECK(n_guessed > 0, "nothing was guessed");
    }
}

/* Three pages: the first answer would go into its second one while the other, which ends sooner, still needs it. */
static void pages(hybrid_model *m)
{
    member members[2];
    hybrid_context_desc room;
    int32_t a, b;
    TEST("pages");
    memset(&room, 0, sizeof room);
    room.n_ctx = 64;
    room.n_logits = 20;
    for (a = 16; a < 22; a++)
        for (b = 25; b < 32; b++) {
            two(members, a, 30, b, 34 - b, 0);
            nobody_waits(m, &room, members, 2);
            CHECK(n_guessed > 0, "nothing was guessed");
        }
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

/* The first token comes from the prompt, and the last one is no guess: max_tokens - 2 of them can come of use. */
static void limits(hybrid_model *m)
{
    const hybrid_logit_bias bias[4] = { { 100, 60 }, { 101, 60 }, { 102, 60 }, { 103, 60 } };
    hybrid_context *c = context_of(m, 256, 1, 20);
    hybrid_stream_desc d;
    int32_t ids[64], most, i;
    static answer a;
    TEST("max_tokens");
    memset(&d, 0, sizeof d);
    d.speculation = HYBRID_SPECULATION_ALWAYS;
    d.sampler.bias = bias;
    d.sampler.n_bias = 4;
    for (i = 0; i < 64; i++) ids[i] = 100 + i % 4;
    for (most = 1; most < 12; most++) {
        hybrid_stream *s;
        hybrid_error e;
        d.max_tokens = most;
        s = stream_of(c, &d);
        CHECK(!hybrid_stream_begin(s, ids, 64, &e), "%s", e.message);
        read_all(s, UINT64_MAX, &a);
        hybrid_stream_destroy(s);
        CHECK((int32_t)a.n == most && a.info.n_guessed == a.info.n_right, "%d tokens, %d of %d guesses", (int)a.n,
              a.info.n_right, a.info.n_guessed);
        CHECK(a.info.n_guessed <= LARGER(most - 2, 0) && (a.info.n_guessed || most < 8), "%d guesses for %d tokens",
              a.info.n_guessed, most);
    }
    hybrid_context_destroy(c);
}

/* A model with learned positions has no more than those, whatever the context has for all its sequences: guesses beyond
 * them are not made, and the answer comes as far as without. */
static void positions(void)
{
    hybrid_model *m = model_of("tests/oracle/data/models/gpt2.gguf");
    const int32_t n_train = model_info(m).n_ctx_train;
    hybrid_stream_desc d;
    int32_t ids[MOST];
    size_t n[2];
    int k;
    TEST("positions of a model");
    memset(&d, 0, sizeof d);
    n_guessed = 0;
    d.sampler = sampler_of(0);
    for (k = 0; k < 2; k++) {
        hybrid_context *c = context_of(m, 2 * n_train, 2, 20);
        hybrid_stream *s;
        hybrid_stream_info info;
        hybrid_piece p;
        hybrid_error e;
        d.speculation = k ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_OFF;
        s = stream_of(c, &d);
        pattern(ids, n_train / 2, model_info(m).n_vocab, 1);
        CHECK(!hybrid_stream_begin(s, ids, (size_t)n_train / 2, &e), "%s", e.message);
        while (!hybrid_stream_next(s, &p, &e) && !p.stop) {}
        hybrid_stream_ids(s, &n[k]);
        hybrid_stream_describe(s, &info);
        n_guessed += info.n_guessed;
        hybrid_stream_destroy(s);
        hybrid_context_destroy(c);
    }
    CHECK(n[0] == n[1] && n[0] > (size_t)n_train, "%d tokens, not %d; the model has %d positions", (int)n[1], (int)n[0],
          n_train);
    CHECK(n_guessed > 0, "nothing was guessed");
    hybrid_model_destroy(m);
}

int main(void)
{
    hybrid_model *story = model_of(story_model);
    if (test_wanted("rows")) rows(story);
    if (test_wanted("places")) places(story);
    if (test_wanted("pages")) pages(story);
    if (test_wanted("limits")) limits(story);
    if (test_wanted("positions")) positions();
    hybrid_model_destroy(story);
    return test_end();
}
