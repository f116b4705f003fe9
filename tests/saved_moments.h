/* saved_moments: an answer is saved after each unit of its work, and what is loaded goes on piece for piece: pieces of
 * two kinds that one token makes, marks, stop texts and characters that are held back, spans that a grammar forces, an
 * answer that was begun for the model, random numbers, guesses. */
#ifndef SAVED_MOMENTS_H
#define SAVED_MOMENTS_H

/* Bytes that say all that pieces tell: as they came; or joined, the same whichever tokens came together, which guesses
 * decide: texts of one kind as one, tokens apart. */
typedef struct told {
    char bytes[2][1 << 15];
    size_t size[2];
    int kind; /* of the last text */
    bool joined;
} told;

typedef struct moment_kind {
    const char *name, *says; /* what the model is made to say; NULL: what it likes */
    const char *begin;       /* of the answer */
    const char *schema;      /* its form, */
    const char *gbnf;        /* or that after a q, which is what it begins with */
    bool whole, sample_forced, logprobs, waits; /* waits: something has to be held back at some moment */
    int n_guess;                                /* 0: no guesses */
    hybrid_sampler_desc sampler;
    const char *stops[2];
} moment_kind;

static void told_add(told *t, int which, const void *bytes, size_t n)
{
    const bool fits = t->size[which] + n <= sizeof t->bytes[which];
    CHECK(fits, "an answer without end");
    if (!fits) return;
    memcpy(t->bytes[which] + t->size[which], bytes, n);
    t->size[which] += n;
}

static void tell(told *t, const hybrid_piece *p)
{
    char line[64];
    size_t i;
    if (!p->size && !p->n_ids && !p->stop) return;
    snprintf(line, sizeof line, "\n%d'", (int)p->kind);
    if (!t->joined || (p->size && t->kind != (int)p->kind)) told_add(t, 0, line, strlen(line));
    if (p->size) t->kind = (int)p->kind;
    told_add(t, 0, p->text, p->size);
    for (i = 0; i < p->n_ids; i++) {
        uint32_t bits = 0;
        if (p->logprobs) memcpy(&bits, &p->logprobs[i], sizeof bits);
        snprintf(line, sizeof line, " %d:%08x", (int)p->ids[i], (unsigned)bits);
        told_add(t, t->joined, line, strlen(line));
    }
    snprintf(line, sizeof line, "' %d", (int)p->stop);
    if (!t->joined || p->stop) told_add(t, 0, line, strlen(line));
}

static void told_begin(told *t, bool joined)
{
    t->size[0] = t->size[1] = 0;
    t->kind = -1;
    t->joined = joined;
}

static bool told_same(const told *a, const told *b)
{
    return a->size[0] == b->size[0] && a->size[1] == b->size[1] && !memcmp(a->bytes[0], b->bytes[0], a->size[0]) &&
           !memcmp(a->bytes[1], b->bytes[1], a->size[1]);
}

static hybrid_session *moment_session(hybrid_model *m, const moment_kind *k)
{
    hybrid_logit_bias one = { 0, 1000 };
    hybrid_session_desc d;
    hybrid_session *s = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.sampler = k->sampler;
    while (k->gbnf && one.id < m->hp.n_vocab && *hybrid_token_bytes(m->tokenizer, one.id).data != 'q') one.id++;
    d.sampler.bias = k->says || k->gbnf ? &one : NULL;
    d.sampler.n_bias = k->says || k->gbnf;
    d.logprobs = k->logprobs;
    d.whole = k->whole;
    d.sample_forced = k->sample_forced;
    d.n_guess = k->n_guess;
    d.speculation = d.n_guess ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_DEFAULT;
    d.stops = k->stops;
    d.n_stops = (size_t)(k->stops[0] != NULL) + (k->stops[0] && k->stops[1]);
    d.max_tokens = 40;
    d.context.n_ctx = 256;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    return s;
}

static hybrid_grammar *moment_form(hybrid_model *m, const moment_kind *k)
{
    hybrid_grammar_desc d;
    hybrid_grammar *g = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.gbnf = k->gbnf;
    d.trigger = "q";
    if (k->gbnf) CHECK(!hybrid_grammar_create(m->rt, &d, &g, &e), "%s", e.message);
    return g;
}

/* What the model is made to say. */
typedef struct moment_script {
    int32_t ids[300];
    size_t n;
} moment_script;

static void moment_script_of(moment_script *script, hybrid_model *m, const char *says)
{
    int32_t *end;
    hybrid_error e;
    memset(script, 0, sizeof *script);
    if (!says) return;
    CHECK(!hybrid_tokenize(m->tokenizer, says, strlen(says), 0, script->ids, 299, &script->n, &e), "%s", e.message);
    end = &script->ids[script->n++];
    while (!hybrid_token_is_end(m->tokenizer, *end)) ++*end;
}

static void moment_script_on(hybrid_session *s, const moment_script *script)
{
    const hybrid_stream *stream = s->stream;
    const size_t k = (size_t)stream->info.n_generated + (stream->chosen >= 0);
    if (script->n) stream->sampler->bias[0].id = script->ids[HYB_MIN(k, script->n - 1)];
}

static bool moment_step(hybrid_session *s, const moment_script *script, uint64_t budget_us, told *t)
{
    hybrid_piece p;
    hybrid_result r;
    moment_script_on(s, script);
    r = hybrid_session_step(s, script->n ? 0 : budget_us, &p); /* of a script one token at a time */
    CHECK(!r, "a step: %s", s->failure.message);
    tell(t, &p);
    return !r && !p.stop;
}

static void moment_answer(hybrid_session *s, const moment_kind *k, const hybrid_grammar *form)
{
    hybrid_answer_desc how;
    hybrid_error e;
    memset(&how, 0, sizeof how);
    how.begin = k->begin;
    CHECK(!hybrid_session_set_grammar(s, form, &e), "%s", e.message);
    CHECK(!(k->schema ? hybrid_session_say_json(s, "Hi", k->schema) : hybrid_session_answer(s, "Hi", &how)), "say");
}

/* What is saved now goes on in a session that was doing something else; t: what was told before, and then all. */
static void moment_loaded(hybrid_session *from, hybrid_session *into, const moment_script *script, int units, told *t)
{
    saved_blob game;
    hybrid_error e;
    int i;
    CHECK(!session_save(from, NULL, &game, &e), "%s", e.message);
    CHECK(game.size == hybrid_session_save_size(from, NULL), "%lu bytes, not %lu", (unsigned long)game.size,
          (unsigned long)hybrid_session_save_size(from, NULL));
    CHECK(!hybrid_session_say(into, "What is that?"), "something else");
    for (i = 0; i < units % 7; i++) hybrid_session_next(into);
    CHECK(!session_load(into, &game, &e), "after %d units: %s", units, e.message);
    for (i = units; moment_step(into, script, i % 2 ? 0 : UINT64_MAX, t); i++) {}
    free(game.bytes);
}

/* Whether the last unit has done more than a part of a decode. */
static bool moment_moved(const hybrid_session *s, hybrid_stream_info *last, int32_t *chosen)
{
    hybrid_stream_info now;
    const int32_t was = *chosen;
    const hybrid_stream_info old = *last;
    hybrid_stream_describe(s->stream, &now);
    *last = now;
    *chosen = s->stream->chosen;
    return now.n_used != old.n_used || now.n_generated != old.n_generated || *chosen != was;
}

/* One answer of a session, saved at each moment at which something waits, after every third unit that did more than a
 * part of a decode, and after some others; and loaded by one of another kind. */
static void moments_of(hybrid_model *here, hybrid_model *there, const moment_kind *k, const moment_kind *o)
{
    static told all, told_yet, rest;
    const int often = getenv("HYBRID_SANITIZER") ? 499 : 199;
    hybrid_stream_info last;
    int32_t chosen = -1;
    hybrid_session *s, *other;
    hybrid_grammar *form;
    moment_script script;
    int n = 0, waited = 0, n_moved = 0;
    bool failed = false, more = true, waits, moved;
    if (!test_wanted(k->name)) return;
    TEST(k->name);
    s = moment_session(here, k);
    other = moment_session(there, o);
    form = moment_form(here, k);
    memset(&last, 0, sizeof last);
    moment_script_of(&script, here, k->says);
    told_begin(&all, k->n_guess || o->n_guess);
    told_begin(&told_yet, all.joined);
    moment_answer(s, k, form);
    while (moment_step(s, &script, UINT64_MAX, &all)) {}
    hybrid_session_destroy(s);
    s = moment_session(here, k);
    for (moment_answer(s, k, form); more && !failed; n++) {
        const hybrid_stop_matcher *stops = s->stream->stops;
        /* guesses come together */
        more = moment_step(s, &script, k->n_guess && n % 16 == 15 ? UINT64_MAX : 0, &told_yet);
        waits = hyb_stream_waits(s->stream) || stops->n_held > stops->n_shown;
        waited += waits;
        moved = moment_moved(s, &last, &chosen) && n_moved++ % 3 == 0;
        /* of a stop text: at some of many moments, since loading is slow */
        if (!hyb_stream_waits(s->stream) && (often > 199 || n % 7)) waits = false;
        if (!more || (n % often && !waits && (often > 199 || !moved))) continue;
        rest = told_yet;
        moment_loaded(s, other, &script, n, &rest);
        failed = !told_same(&rest, &all);
        CHECK(!failed, "%s, after %d units:%.*s\n%.*s\nnot%.*s\n%.*s", k->name, n, (int)rest.size[0],
              rest.bytes[0], (int)rest.size[1], rest.bytes[1], (int)all.size[0], all.bytes[0], (int)all.size[1],
              all.bytes[1]);
    }
    CHECK(n > 20, "%s: %d units", k->name, n);
    CHECK(!k->waits || waited, "%s: nothing was held back at any of %d moments", k->name, n);
    hybrid_session_destroy(s);
    hybrid_session_destroy(other);
    hybrid_grammar_destroy(form);
}

/* A piece that a crowd has made, and that nobody has taken: also the last one, which is empty. */
static void moments_crowd(hybrid_model *here, hybrid_model *there)
{
    static const char *const says[] = { "Yes. And <th", "<think>Hm</think> Yes" };
    static told all, told_yet, rest;
    hybrid_session *other;
    moment_kind k;
    moment_script script;
    hybrid_piece p;
    hybrid_error e;
    int i, n;
    TEST("moments of a crowd");
    memset(&k, 0, sizeof k);
    for (i = 0; i < 4; i++) {
        hybrid_session *s;
        hybrid_crowd *crowd = NULL;
        k.says = says[i % 2];
        k.whole = i > 1;
        k.logprobs = true;
        moment_script_of(&script, here, k.says);
        s = moment_session(here, &k);
        other = moment_session(there, &k);
        CHECK(!hybrid_crowd_create(s->ctx, &crowd, &e) && !hybrid_crowd_add(crowd, s, 1, &e), "%s", e.message);
        told_begin(&all, false);
        told_begin(&told_yet, false);
        moment_answer(s, &k, NULL);
        while (moment_step(s, &script, 0, &all)) {}
        hybrid_session_reset(s);
        moment_answer(s, &k, NULL);
        memset(&p, 0, sizeof p);
        for (n = 0; !p.stop && n < 5000;) {
            moment_script_on(s, &script);
            CHECK(!hybrid_crowd_step(crowd, 0, &e), "%s", e.message);
            if (!s->stream->is_untold) continue;
            rest = told_yet;
            moment_loaded(s, other, &script, n++, &rest);
            CHECK(told_same(&rest, &all), "%d, after %d pieces:%.*s\nnot%.*s", i, n, (int)rest.size[0], rest.bytes[0],
                  (int)all.size[0], all.bytes[0]);
            CHECK(hybrid_crowd_next(crowd, &p) == s && !hybrid_crowd_next(crowd, &p), "one piece");
            tell(&told_yet, &s->stream->untold);
            p = s->stream->untold;
        }
        CHECK(told_same(&told_yet, &all) && n > 4, "%d pieces:%.*s", n, (int)told_yet.size[0], told_yet.bytes[0]);
        hybrid_crowd_destroy(crowd);
        hybrid_session_destroy(s);
        hybrid_session_destroy(other);
    }
}

static hybrid_template *moment_template(hybrid_runtime *rt)
{
    static const char text[] = "{# <think> <tool_call> #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
                               "{% endfor %}assistant: ";
    hybrid_template_desc d;
    hybrid_template *t = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.text = text;
    CHECK(!hybrid_template_create(rt, &d, &t, &e), "%s", e.message);
    return t;
}

static void moments_kinds(hybrid_model *story, hybrid_model *there, hybrid_model *here, hybrid_model *small)
{
    static const char says[] = "<think>\n\xC3\xA4.</think>\n\nY <b>\n<tool_call>{}</tool_call>";
    static const char form[] = "root ::= \"<think>a\" [a-z] [a-z] \"1</think>2\" [a-z] [a-z] "
                               "\"3<tool_call>{}</tool_call>4\" [a-z] [a-z] \"<th\" [a-z]";
    moment_kind k, o;
    memset(&o, 0, sizeof o);
    memset(&k, 0, sizeof k);
    k.name = "moments: kinds";
    k.says = says;
    moments_of(story, there, &k, &k);
    k.name = "moments: a character that a mark cuts off";
    k.says = "Ye.<think>a\xC3</think>b <thi";
    k.waits = true;
    moments_of(story, there, &k, &k);
    k.waits = false;
    k.name = "moments: kinds, the other session tells none apart";
    k.says = says;
    o.whole = true;
    moments_of(here, small, &k, &o);
    k.name = "moments: none are told apart, but by the other session";
    k.whole = true;
    o.whole = false;
    moments_of(here, small, &k, &o);
    k.whole = false;
    k.name = "moments: begun as a thought";
    k.says = "m.</think>Yes.";
    k.begin = "<think>\nH";
    moments_of(here, small, &k, &o);
    k.name = "moments: begun with half of a mark";
    k.says = "ink> Hm.\n</think>Yes.";
    k.begin = "  <th";
    moments_of(here, small, &k, &o);
    k.name = "moments: kinds, guessed";
    k.says = k.begin = NULL;
    k.gbnf = form;
    k.n_guess = 15;
    k.sample_forced = k.waits = true;
    k.sampler.temperature = 1;
    moments_of(here, small, &k, &k);
    k.name = "moments: kinds, guessed, but not by the other session";
    moments_of(here, small, &k, &o);
    k.name = "moments: kinds that are forced";
    k.n_guess = 0;
    k.sample_forced = k.waits = false;
    o.n_guess = 5;
    moments_of(here, small, &k, &o);
}

/* Texts that end an answer, and of which it ends with the beginning for a while. */
static void moments_stops(hybrid_model *here, hybrid_model *there)
{
    moment_kind k, o;
    memset(&o, 0, sizeof o);
    memset(&k, 0, sizeof k);
    k.waits = true;
    k.name = "moments: a stop text";
    k.says = "Ye and then the end of it all, the end is near";
    k.stops[0] = "the end is near, and more";
    k.stops[1] = "the end is n";
    moments_of(here, there, &k, &k);
    k.name = "moments: a stop text, the other session has none";
    moments_of(here, there, &k, &o);
    k.name = "moments: a stop text, and others of the other session";
    o.stops[0] = "then";
    moments_of(here, there, &k, &o);
    k.name = "moments: no stop text, but of the other session";
    k.stops[0] = NULL;
    k.waits = false;
    moments_of(here, there, &k, &o);
}

/* What an answer is made of besides. */
static void moments_rest(hybrid_model *here, hybrid_model *there)
{
    moment_kind k, o;
    memset(&o, 0, sizeof o);
    memset(&k, 0, sizeof k);
    k.sampler.temperature = 1.5f;
    k.sampler.seed = 5;
    k.schema = "{\"type\":\"object\",\"properties\":{\"thing\":{\"enum\":[\"Tim\",\"Tom\"]},\"inches\":{\"type\":"
               "\"integer\",\"maximum\":99}},\"required\":[\"thing\",\"inches\"],\"additionalProperties\":false}";
    k.name = "moments: a form";
    moments_of(here, there, &k, &o);
    k.name = "moments: a form whose forced tokens are sampled";
    k.sample_forced = true;
    moments_of(here, there, &k, &o);
    k.name = "moments: a form, guessed";
    k.n_guess = 7;
    moments_of(here, there, &k, &o);
    k.schema = NULL;
    k.n_guess = 0;
    k.name = "moments: DRY, XTC, mirostat, ln of probabilities";
    k.logprobs = o.logprobs = true;
    k.sampler.dry_multiplier = 0.8f;
    k.sampler.dry_allowed_length = 1;
    k.sampler.xtc_probability = 0.5f;
    k.sampler.mirostat = 2;
    k.sampler.mirostat_tau = 3;
    k.sampler.repetition_penalty = 1.1f;
    moments_of(here, there, &k, &o);
}

static void moments(hybrid_runtime *here, hybrid_runtime *there)
{
    hybrid_model *m[4];
    hybrid_template *t[4], *before[4];
    int i;
    for (i = 0; i < 4; i++) {
        m[i] = model_of(i % 2 ? there : here, i < 2 ? STORY : FOLDER "qwen3.gguf");
        t[i] = moment_template(i % 2 ? there : here);
        before[i] = m[i]->chat;
        m[i]->chat = t[i];
    }
    moments_kinds(m[0], m[1], m[2], m[3]);
    moments_stops(m[2], m[3]);
    moments_rest(m[2], m[3]);
    if (test_wanted("moments of a crowd")) moments_crowd(m[2], m[3]);
    for (i = 0; i < 4; i++) {
        m[i]->chat = before[i];
        hybrid_template_destroy(t[i]);
        hybrid_model_destroy(m[i]);
    }
}
#endif
