/* speculation: for tests of guesses: an answer with all that belongs to it, two of them compared, and samplers of many
 * kinds. */
#ifndef SPECULATION_H
#define SPECULATION_H
#include "interface.h"

static const char story_model[] = "examples/data/stories260K-q8_0.gguf";
enum { MOST = 600 };

typedef struct answer {
    int32_t ids[MOST];
    float logprobs[MOST];
    char text[16384];
    size_t n, size;
    hybrid_stop_reason stop;
    hybrid_stream_info info;
    int pieces;
} answer;

/* What a sampler that is a function writes, whatever the model says. */
typedef struct script {
    int32_t ids[MOST];
    int at; /* tokens that were chosen */
} script;

/* A hybrid_sampler_function: the next token of the script. */
static inline void as_written(void *user, const int32_t *ids, float *logits, int32_t n)
{
    script *s = (script *)user;
    int32_t i;
    for (i = 0; i < n; i++) logits[i] = ids[i] == s->ids[s->at] ? 50.0f : -50.0f;
    s->at++;
}

static int64_t n_guessed, n_right; /* of all that were compared */

static inline hybrid_model *model_of(const char *path)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.path = path;
    CHECK(!hybrid_model_load(NULL, &d, &m, &e), "%s: %s", path, e.message);
    return m;
}

static inline hybrid_context *context_of(hybrid_model *m, int32_t n_ctx, int32_t n_seq, int32_t n_logits)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = n_seq;
    d.n_logits = n_logits;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

static inline hybrid_stream *stream_of(hybrid_context *c, const hybrid_stream_desc *d)
{
    hybrid_stream *s = NULL;
    hybrid_error e;
    CHECK(!hybrid_stream_create(c, d, &s, &e), "%s", e.message);
    return s;
}

/* A piece more; false: it was the last. */
static inline bool take(answer *a, const hybrid_piece *p)
{
    if (a->size + p->size >= sizeof a->text || a->n + p->n_ids > MOST) {
        CHECK(false, "an answer without end");
        return false;
    }
    memcpy(a->text + a->size, p->text, p->size + 1);
    a->size += p->size;
    if (p->n_ids) {
        memcpy(a->ids + a->n, p->ids, p->n_ids * sizeof *p->ids);
        if (p->logprobs) memcpy(a->logprobs + a->n, p->logprobs, p->n_ids * sizeof *p->logprobs);
    }
    a->n += p->n_ids;
    a->stop = p->stop;
    a->pieces++;
    return !p->stop;
}

static inline void read_all(hybrid_stream *s, uint64_t budget_us, answer *a)
{
    hybrid_piece p;
    hybrid_error e;
    int calls = 0;
    memset(a, 0, sizeof *a);
    do {
        const hybrid_result r = hybrid_stream_step(s, budget_us, &p, &e);
        CHECK(!r, "%s", e.message);
        if (r) return;
    } while (take(a, &p) && calls++ < 1000000);
    hybrid_stream_describe(s, &a->info);
    n_guessed += a->info.n_guessed;
    n_right += a->info.n_right;
}

static inline void compare(const answer *got, const answer *want, const char *what, int mode)
{
    CHECK(got->n == want->n && !memcmp(got->ids, want->ids, want->n * sizeof *want->ids), "%s, %d: %d tokens, not %d",
          what, mode, (int)got->n, (int)want->n);
    CHECK(!memcmp(got->logprobs, want->logprobs, want->n * sizeof *want->logprobs), "%s, %d: log-probabilities", what,
          mode);
    CHECK(got->size == want->size && !memcmp(got->text, want->text, want->size), "%s, %d: '%s' is not '%s'", what, mode,
          got->text, want->text);
    CHECK(got->stop == want->stop, "%s, %d: it ended for %d, not %d", what, mode, (int)got->stop, (int)want->stop);
    CHECK(got->info.n_generated == want->info.n_generated && got->info.n_used == want->info.n_used,
          "%s, %d: %d tokens, %d used; not %d, %d", what, mode, got->info.n_generated, got->info.n_used,
          want->info.n_generated, want->info.n_used);
}

/* A text that says the same over and over, with something else now and then. */
static inline int32_t pattern(int32_t *ids, int32_t n, int32_t n_vocab, uint32_t seed)
{
    int32_t i;
    for (i = 0; i < n; i++) {
        ids[i] = (int32_t)(3 + (uint32_t)(i % 11) * 37 % (uint32_t)(n_vocab - 3));
        seed = seed * 1664525u + 1013904223u;
        if (seed >> 28 == 0) ids[i] = (int32_t)(3 + (seed >> 8) % (uint32_t)(n_vocab - 3));
    }
    return n;
}

/* ---- models of all kinds, samplers of all kinds ---- */

enum { SAMPLERS = 7 };
static inline hybrid_sampler_desc sampler_of(int i)
{
    static const hybrid_logit_bias three[] = { { 3, 1000 }, { 40, 1000 }, { 77, 1000 } };
    hybrid_sampler_desc d;
    memset(&d, 0, sizeof d);
    if (i % 2 == 0) { /* of three tokens only: guesses are often right, whatever the weights say */
        d.bias = three;
        d.n_bias = 3;
    }
    if (!i) return d;
    d.temperature = 0.5f;
    d.seed = 7 + (uint64_t)i;
    if (i == 1) d.top_k = 5;
    if (i == 2) d.repetition_penalty = 1.2f, d.frequency_penalty = 0.3f, d.top_p = 0.9f;
    if (i == 3) d.mirostat = 2, d.mirostat_tau = 3;
    if (i == 4) d.dry_multiplier = 0.8f, d.min_p = 0.05f;
    if (i == 5) d.xtc_probability = 0.5f, d.xtc_threshold = 0.05f, d.temperature = 2;
    if (i == 6) d.mirostat = 1, d.mirostat_tau = 2, d.presence_penalty = 0.5f;
    return d;
}

/* Two turns, the second goes on from the first's answer. */
static inline void turns(hybrid_model *m, const hybrid_stream_desc *d, uint64_t budget_us, answer a[2])
{
    const int32_t n_ctx = SMALLER(400, model_info(m).n_ctx_train);
    hybrid_context *c = context_of(m, n_ctx, 1, d->n_guess + 1);
    hybrid_stream *s = stream_of(c, d);
    hybrid_error e;
    int32_t ids[MOST];
    const int32_t *all;
    size_t n;
    const int32_t first = pattern(ids, n_ctx < 100 ? 25 : 50, model_info(m).n_vocab, 1);
    CHECK(!hybrid_stream_begin(s, ids, (size_t)first, &e), "%s", e.message);
    read_all(s, budget_us, &a[0]);
    all = hybrid_stream_ids(s, &n);
    n = SMALLER(n, (size_t)n_ctx - 24);
    memcpy(ids, all, n * sizeof *ids);
    pattern(ids + n, 12, model_info(m).n_vocab, 2);
    CHECK(!hybrid_stream_begin(s, ids, n + 12, &e), "%s", e.message);
    read_all(s, budget_us, &a[1]);
    hybrid_stream_destroy(s);
    CHECK(hybrid_context_room(c) >= n_ctx, "all pages are free again");
    hybrid_context_destroy(c);
}

/* Sessions of a context that speak at the same time, each with another priority and most with another sampler: what
 * they say, and what they are when all have ended. budget_us: of a step. */
enum { CROWD = 5 };
static inline void talk_together(hybrid_model *m, hybrid_context *c, hybrid_session_desc d,
                                 const char *const said[CROWD], uint64_t budget_us, char text[CROWD][4096],
                                 hybrid_session_info info[CROWD])
{
    hybrid_session *s[CROWD], *who;
    hybrid_crowd *crowd = NULL;
    hybrid_piece p;
    hybrid_error e;
    int i, left = CROWD, calls = 0;
    d.context_shared = c;
    CHECK(!hybrid_crowd_create(c, &crowd, &e), "%s", e.message);
    for (i = 0; i < CROWD; i++) {
        text[i][0] = 0;
        d.sampler = sampler_of(i % 2 ? i : 0);
        d.sampler.bias = NULL;
        d.sampler.n_bias = 0;
        s[i] = NULL;
        CHECK(!hybrid_session_create(m, &d, &s[i], &e), "%s", e.message);
        CHECK(!hybrid_session_complete(s[i], said[i]) && !hybrid_crowd_add(crowd, s[i], (float)(1 + i), &e), "%s",
              e.message);
    }
    while (left && calls++ < 1000000) {
        CHECK(!hybrid_crowd_step(crowd, budget_us, &e), "%s", e.message);
        while ((who = hybrid_crowd_next(crowd, &p)) != NULL) {
            for (i = 0; s[i] != who; i++) {}
            strcat(text[i], p.text);
            left -= p.stop != HYBRID_STOP_NONE;
            if (i == 1 && calls % 3) break; /* the others' pieces are not taken yet */
        }
    }
    CHECK(!left, "%d have not ended", left);
    for (i = 0; i < CROWD; i++) {
        hybrid_session_describe(s[i], &info[i]);
        hybrid_session_destroy(s[i]);
    }
    hybrid_crowd_destroy(crowd);
}
#endif
