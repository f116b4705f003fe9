/* saved_sessions: saved conversations: at every moment of an answer, with every kind of sampler and form, into sessions
 * that did something else, of other threads, instruction set, context. They go on with the same pieces, and so does the
 * next turn. And bytes that are none. */
#ifndef SAVED_SESSIONS_H
#define SAVED_SESSIONS_H

#define STORY "examples/data/stories260K-q8_0.gguf"

typedef struct talk_kind {
    const char *name, *schema, *begin;
    hybrid_sampler_desc sampler, once; /* of the session, and of the answer that is saved */
    int max_tokens;
    bool logprobs, complete;
    const hybrid_grammar *grammar; /* of the answer that is saved */
} talk_kind;

static hybrid_session *session_of(hybrid_model *m, const talk_kind *k, hybrid_context *shared, int n_ctx)
{
    static const char *const stops[] = { "zzz", ", and", "big red" };
    hybrid_session_desc d;
    hybrid_session *s = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.system = "You tell stories.";
    if (k) d.sampler = k->sampler;
    d.stops = stops;
    d.n_stops = 3;
    d.max_tokens = 14;
    d.logprobs = k && k->logprobs;
    d.context.n_ctx = n_ctx;
    d.context.n_batch = n_ctx / 8;
    d.context_shared = shared;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    return s;
}

static hybrid_result session_save(hybrid_session *s, const hybrid_save_desc *d, saved_blob *b, hybrid_error *e)
{
    const hybrid_target to = into(b);
    memset(b, 0, sizeof *b);
    return hybrid_session_save(s, d, &to, e);
}
static hybrid_result session_load(hybrid_session *s, saved_blob *b, hybrid_error *e)
{
    const hybrid_source from = out_of(b);
    return hybrid_session_load(s, NULL, &from, e);
}

static void talk_begin(hybrid_session *s, const talk_kind *k)
{
    hybrid_answer_desc how;
    hybrid_error e;
    memset(&how, 0, sizeof how);
    if (k->once.temperature > 0) how.sampler = &k->once;
    how.begin = k->begin;
    how.max_tokens = k->max_tokens;
    hybrid_session_say(s, "Once upon a time there was a dog.");
    hybrid_session_next(s); /* broken off */
    if (k->grammar) CHECK(!hybrid_session_set_grammar(s, k->grammar, &e), "%s", e.message);
    if (k->schema)
        hybrid_session_say_json(s, "And a cat?", k->schema);
    else if (k->complete)
        hybrid_session_complete(s, "Once upon a time, there was a little");
    else
        hybrid_session_answer(s, "And a cat?", &how);
    CHECK(!hybrid_session_result(s, &e), "%s", e.message);
    if (k->grammar) CHECK(!hybrid_session_set_grammar(s, NULL, &e), "%s", e.message); /* of those that follow */
}

typedef struct heard {
    char text[2048];
    size_t size;
    hybrid_stop_reason stop;
    float sum; /* of the ln of the probabilities */
    int n_ids;
} heard;

/* Pieces until the answer ends; most: at most so many. */
static void hear(hybrid_session *s, heard *h, int most)
{
    hybrid_piece p;
    size_t i;
    while (most-- > 0) {
        if (hybrid_session_step(s, UINT64_MAX, &p)) {
            h->stop = HYBRID_STOP_ERROR;
            return;
        }
        if (h->size + p.size < sizeof h->text) memcpy(h->text + h->size, p.text, p.size + 1);
        h->size += p.size;
        h->stop = p.stop;
        h->n_ids += (int)p.n_ids;
        for (i = 0; p.logprobs && i < p.n_ids; i++) h->sum += p.logprobs[i];
        if (p.stop || !p.size) return;
    }
}

/* The rest of the answer, and one more turn. */
static void hear_all(hybrid_session *s, heard *h)
{
    memset(h, 0, sizeof *h);
    hear(s, h, 1000);
    CHECK(!hybrid_session_say(s, "Go on."), "a turn");
    hear(s, h, 1000);
}

static bool heard_same(const heard *a, const heard *b)
{
    return a->size == b->size && !memcmp(a->text, b->text, a->size) && a->stop == b->stop && a->n_ids == b->n_ids &&
           !memcmp(&a->sum, &b->sum, sizeof a->sum);
}

static bool same_messages(const hybrid_session *a, const hybrid_session *b)
{
    size_t i, n = hybrid_session_count(a);
    if (n != hybrid_session_count(b)) return false;
    for (i = 0; i < n; i++) {
        const hybrid_chat_message x = hybrid_session_message(a, i), y = hybrid_session_message(b, i);
        if (strcmp(x.role, y.role) || strcmp(x.content, y.content)) return false;
    }
    return true;
}

/* After n pieces. */
static void talk_saved_at(hybrid_model *here, hybrid_model *there, const talk_kind *k, int n, bool recompute)
{
    hybrid_session *a = session_of(here, k, NULL, 384), *b = session_of(there, NULL, NULL, 448);
    hybrid_session *c = session_of(there, k, NULL, 448);
    hybrid_save_desc d;
    hybrid_session_info x, y;
    saved_blob one, two;
    heard first, said[3];
    hybrid_error e;
    memset(&d, 0, sizeof d);
    memset(&first, 0, sizeof first);
    d.recompute = recompute;
    talk_begin(a, k);
    hear(a, &first, n);
    CHECK(!session_save(a, &d, &one, &e), "%s", e.message);
    CHECK(one.size == hybrid_session_save_size(a, &d), "%s: %lu bytes, not %lu", k->name, (unsigned long)one.size,
          (unsigned long)hybrid_session_save_size(a, &d));
    hybrid_session_say(c, "What is that?"); /* it does something else */
    hybrid_session_next(c);
    CHECK(!session_load(b, &one, &e) && !session_load(c, &one, &e), "%s, %d pieces: %s", k->name, n, e.message);
    CHECK(same_messages(a, b) && same_messages(a, c), "%s, %d pieces: other messages", k->name, n);
    hybrid_session_describe(a, &x);
    hybrid_session_describe(b, &y);
    x.n_ctx = y.n_ctx;
    CHECK(!memcmp(&x, &y, sizeof x), "%s: %d pieces: it describes itself otherwise", k->name, n);
    CHECK(!session_save(c, &d, &two, &e), "%s", e.message);
    CHECK(two.size == one.size && !memcmp(one.bytes, two.bytes, one.size), "%s, %d pieces: saved again, other bytes",
          k->name, n);
    hear_all(a, &said[0]);
    hear_all(b, &said[1]);
    hear_all(c, &said[2]);
    if (!k->logprobs)
        CHECK(heard_same(&said[0], &said[1]), "%s, %d pieces: '%s', not '%s'", k->name, n, said[1].text, said[0].text);
    CHECK(heard_same(&said[0], &said[2]), "%s, %d pieces: '%s', not '%s'", k->name, n, said[2].text, said[0].text);
    CHECK(same_messages(a, c), "%s, %d pieces: other messages in the end", k->name, n);
    free(one.bytes);
    free(two.bytes);
    hybrid_session_destroy(a);
    hybrid_session_destroy(b);
    hybrid_session_destroy(c);
}

/* In the middle of a prompt, and of a decode. */
static void talk_sliced(hybrid_model *here, hybrid_model *there, const talk_kind *k)
{
    int n, i;
    for (n = 0; n < 60; n += 7) {
        hybrid_session *a = session_of(here, k, NULL, 384), *b = session_of(there, k, NULL, 384);
        hybrid_piece p;
        saved_blob one;
        heard said[2];
        hybrid_error e;
        talk_begin(a, k);
        for (i = 0; i < n; i++) hybrid_session_step(a, 0, &p);
        CHECK(!session_save(a, NULL, &one, &e), "%s", e.message);
        CHECK(!session_load(b, &one, &e), "%s", e.message);
        hear_all(a, &said[0]);
        hear_all(b, &said[1]);
        CHECK(heard_same(&said[0], &said[1]), "after %d slices '%s', not '%s'", n, said[1].text, said[0].text);
        free(one.bytes);
        hybrid_session_destroy(a);
        hybrid_session_destroy(b);
    }
}

/* Sessions that share a context, of which one is in the middle of a decode. */
static void talk_shared(hybrid_model *m, const talk_kind *k)
{
    hybrid_context_desc d;
    hybrid_context *ctx = NULL;
    hybrid_session *s[2], *alone = session_of(m, k, NULL, 384);
    hybrid_piece p;
    saved_blob one;
    heard said[3];
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = 900;
    d.n_seq = 2;
    CHECK(!hybrid_context_create(m, &d, &ctx, &e), "%s", e.message);
    s[0] = session_of(m, k, ctx, 0);
    s[1] = session_of(m, k, ctx, 0);
    talk_begin(s[0], k);
    memset(&said[0], 0, sizeof said[0]);
    hear(s[0], &said[0], 2);
    CHECK(!hybrid_session_say(s[1], "Who are you?"), "a turn");
    CHECK(!hybrid_session_step(s[1], 0, &p), "a slice");
    CHECK(ctx->progress.running, "a decode is under way");
    CHECK(!session_save(s[0], NULL, &one, &e), "%s", e.message);
    CHECK(!session_load(alone, &one, &e), "%s", e.message);
    CHECK(!session_load(s[1], &one, &e), "%s", e.message);
    hear_all(s[0], &said[0]);
    hear_all(s[1], &said[1]);
    hear_all(alone, &said[2]);
    CHECK(heard_same(&said[0], &said[1]) && heard_same(&said[0], &said[2]), "'%s', not '%s' and '%s'", said[0].text,
          said[1].text, said[2].text);
    free(one.bytes);
    hybrid_session_destroy(s[0]);
    hybrid_session_destroy(s[1]);
    hybrid_session_destroy(alone);
    hybrid_context_destroy(ctx);
}

/* Bytes that are damaged, before and behind the checksum: the session goes on as if it had not been asked. */
static void talk_damaged(hybrid_model *m, const talk_kind *k)
{
    hybrid_session *a = session_of(m, k, NULL, 384), *b = session_of(m, k, NULL, 384),
                   *twin = session_of(m, k, NULL, 384);
    hybrid_save_desc d;
    hyb_checksum *sum = (hyb_checksum *)malloc(sizeof *sum);
    saved_blob good;
    heard said[2];
    hybrid_error e;
    size_t i, refused = 0, loaded = 0;
    uint64_t value;
    memset(&d, 0, sizeof d);
    d.recompute = true; /* few bytes */
    talk_begin(a, k);
    hear(a, &said[0], 3);
    CHECK(!session_save(a, &d, &good, &e), "%s", e.message);
    talk_begin(b, k);
    talk_begin(twin, k);
    hear(b, &said[0], 2);
    hear(twin, &said[1], 2);
    for (i = 0; i < good.size; i += 11) {
        good.bytes[i] ^= 4;
        CHECK(session_load(b, &good, &e), "byte %d", (int)i);
        good.bytes[i] ^= 4;
    }
    CHECK(same_messages(b, twin), "other messages");
    hear_all(b, &said[0]);
    hear_all(twin, &said[1]);
    CHECK(heard_same(&said[0], &said[1]), "after damaged games '%s', not '%s'", said[0].text, said[1].text);
    for (i = 32; i < good.size - 8; i += getenv("HYBRID_SANITIZER") ? 37 : 7) { /* whoever knows the formula */
        good.bytes[i] ^= (unsigned char)(1 << i % 7);
        memset(sum, 0, sizeof *sum);
        hyb_checksum_add(sum, good.bytes, good.size - 8);
        value = hyb_checksum_end(sum);
        memcpy(good.bytes + good.size - 8, &value, 8);
        if (session_load(b, &good, &e))
            refused++;
        else if (loaded++ % 16 == 0)
            hear(b, &said[0], 30);
        good.bytes[i] ^= (unsigned char)(1 << i % 7);
    }
    CHECK(refused > 5 && loaded > 5, "%lu refused, %lu loaded", (unsigned long)refused, (unsigned long)loaded);
    memset(sum, 0, sizeof *sum);
    hyb_checksum_add(sum, good.bytes, good.size - 8);
    value = hyb_checksum_end(sum);
    memcpy(good.bytes + good.size - 8, &value, 8);
    CHECK(!session_load(b, &good, &e), "%s", e.message);
    hear_all(a, &said[0]);
    hear_all(b, &said[1]);
    CHECK(heard_same(&said[0], &said[1]), "after all '%s', not '%s'", said[1].text, said[0].text);
    free(sum);
    free(good.bytes);
    hybrid_session_destroy(a);
    hybrid_session_destroy(b);
    hybrid_session_destroy(twin);
}

/* Too long for the session; a sequence that is no session, and the other way round. */
static void talk_refused(hybrid_model *m, const talk_kind *k)
{
    hybrid_session *a = session_of(m, k, NULL, 384), *small = session_of(m, k, NULL, 48);
    hybrid_context *c = context_of(m, 384, 16, HYBRID_KV_F16);
    saved_blob game, seq;
    hybrid_error e;
    talk_begin(a, k);
    CHECK(hybrid_session_next(a) != NULL, "a piece");
    CHECK(!session_save(a, NULL, &game, &e), "%s", e.message);
    e.message[0] = 0;
    CHECK(session_load(small, &game, &e) == HYBRID_ERROR_CONTEXT_FULL && strstr(e.message, "has room for 48"),
          "%d tokens: %s", a->stream->n_ids, e.message);
    game_refused(c, NULL, &game, HYBRID_ERROR_FORMAT, "are a session that was saved, and not a sequence");
    saved_decode(c, 0, 3, 5);
    seq = game_of(c, 0, NULL);
    CHECK(session_load(a, &seq, &e) == HYBRID_ERROR_FORMAT && strstr(e.message, "and not a session"), "%s", e.message);
    free(game.bytes);
    free(seq.bytes);
    hybrid_session_destroy(a);
    hybrid_session_destroy(small);
    hybrid_context_destroy(c);
}

/* A file of an older version. Its text may be another one when a later version computes in another order: it goes on.
 */
static void old_talk(hybrid_model *m, const talk_kind *k, const char *path)
{
    hybrid_session *a = session_of(m, k, NULL, 256), *b = session_of(m, NULL, NULL, 256);
    hybrid_source from;
    heard said;
    hybrid_error e;
    memset(&said, 0, sizeof said);
    memset(&from, 0, sizeof from);
    talk_begin(a, k);
    hear(a, &said, 4);
    if (getenv("HYBRID_MAKE_SAVED")) {
        hybrid_save_desc d;
        hybrid_target to;
        memset(&d, 0, sizeof d);
        memset(&to, 0, sizeof to);
        to.path = path;
        d.recompute = true;
        CHECK(!hybrid_session_save(a, &d, &to, &e), "%s", e.message);
    }
    from.path = path;
    CHECK(!hybrid_session_load(b, NULL, &from, &e), "%s", e.message);
    CHECK(same_messages(a, b), "other messages: '%s'",
          hybrid_session_count(b) ? hybrid_session_message(b, 4).content : "");
    memset(&said, 0, sizeof said);
    hear(b, &said, 1000);
    CHECK(said.n_ids > 2 && said.stop != HYBRID_STOP_ERROR, "it does not go on: '%s'", said.text);
    hybrid_session_destroy(a);
    hybrid_session_destroy(b);
}

static void sessions(hybrid_runtime *here, hybrid_runtime *there)
{
    static const hybrid_logit_bias bias[] = { { 400, 1.5f }, { 300, -INFINITY } };
    hybrid_model *m = model_of(here, STORY), *other = model_of(there, STORY);
    static const int32_t breakers[] = { 3, 300 };
    talk_kind list[9];
    hybrid_grammar_desc form;
    hybrid_grammar *grammar = NULL;
    hybrid_error err;
    const int most = getenv("HYBRID_SANITIZER") ? 3 : 8; /* pieces after which each is saved */
    size_t i;
    int n;
    memset(list, 0, sizeof list);
    memset(&form, 0, sizeof form);
    form.gbnf = "root ::= [a-z ]{3,40} \".\"";
    form.trigger = "e";
    CHECK(!hybrid_grammar_create(here, &form, &grammar, &err), "%s", err.message);
    list[0].name = "greedy";
    list[1].name = "warm";
    list[1].sampler.temperature = 1;
    list[1].sampler.top_k = 40;
    list[1].sampler.seed = 7;
    list[2].name = "penalties and a bias";
    list[2].sampler.temperature = 0.9f;
    list[2].sampler.repetition_penalty = 1.2f;
    list[2].sampler.frequency_penalty = 0.1f;
    list[2].sampler.penalty_last_n = 20;
    list[2].sampler.top_p = 0.95f;
    list[2].sampler.bias = bias;
    list[2].sampler.n_bias = 2;
    list[3].name = "a sampler and a beginning of this answer";
    list[3].sampler.temperature = 0.7f;
    list[3].once.temperature = 1.1f;
    list[3].once.seed = 3;
    list[3].once.presence_penalty = 0.5f;
    list[3].begin = "The cat was";
    list[3].max_tokens = 9;
    list[4].name = "a form";
    list[4].sampler.temperature = 1;
    list[4].schema = "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2}";
    list[5].name = "ln of probabilities";
    list[5].sampler.temperature = 1;
    list[5].logprobs = true;
    list[6].name = "plain text";
    list[6].complete = true;
    list[7].name = "DRY, XTC, mirostat";
    list[7].sampler.temperature = 1.2f;
    list[7].sampler.temperature_range = 0.3f;
    list[7].sampler.dry_multiplier = 0.8f;
    list[7].sampler.dry_allowed_length = 1;
    list[7].sampler.dry_breakers = breakers;
    list[7].sampler.n_dry_breakers = 2;
    list[7].sampler.xtc_probability = 0.5f;
    list[7].sampler.mirostat = 2;
    list[7].sampler.mirostat_tau = 3;
    list[8].name = "a form after a trigger";
    list[8].sampler.temperature = 1;
    list[8].grammar = grammar;
    for (i = 0; m && other && i < 9; i++) {
        if (!test_wanted(list[i].name)) continue;
        TEST(list[i].name);
        for (n = 0; n < most; n++) talk_saved_at(m, other, &list[i], n, n % 2);
        talk_saved_at(m, other, &list[i], 100, false);
    }
    TEST("slices of a conversation");
    PART(talk_sliced(m, other, &list[1]));
    PART(talk_sliced(m, other, &list[4]));
    TEST("a shared context");
    talk_shared(m, &list[2]);
    TEST("damaged conversations");
    PART(talk_damaged(m, &list[2]));
    PART(talk_damaged(m, &list[4]));
    PART(talk_damaged(m, &list[8]));
    TEST("refused conversations");
    talk_refused(m, &list[1]);
    TEST("story-1.game");
    old_talk(m, &list[3], OLD_GAMES "story-1.game");
    TEST("story-2.game");
    old_talk(m, &list[3], OLD_GAMES "story-2.game");
    hybrid_grammar_destroy(grammar);
    hybrid_model_destroy(m);
    hybrid_model_destroy(other);
}
#endif
