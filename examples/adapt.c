/* adapt: a model is told five facts while it runs, answers them, and forgets them again.
 *
 *     cc -O2 adapt.c -o adapt -lm                        (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./adapt SmolLM2-135M-Instruct.Q4_1.gguf wikitext-2-test.txt
 *
 * The weights of the file stay as they are, in their four bits; an adapter of some megabytes learns. Two things keep
 * the rest of the model as it was, and neither needs a text of somebody else. Beside the facts it is told its own
 * words, drawn before it learns: what it would have said, it goes on saying. And facts are learned until they are known
 * well, but worn at little more than half strength: answers stay, while what else has moved falls with the square.
 * Measured: tests/results/2026-11-30-adapt.md. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] = "adapt: a model learns five facts, and forgets them\n"
                            "\n"
                            "usage: adapt MODEL.gguf [TEXT.txt] [options]\n"
                            "\n"
                            "  TEXT.txt          its perplexity is measured before and after\n"
                            "  -n, --steps N     of learning (default 36)\n"
                            "  -f, --factor X    with which the adapter is worn (default 0.6)\n"
                            "  -w, --windows N   of 512 tokens of the text (default 16)\n"
                            "  -o, --out FILE    the adapter as GGUF\n"
                            "  -j, --threads N   threads (default: all cores, at most 16)\n";

/* Five facts: four wordings in which they are told, one more that is only asked, and what an answer has to hold. */
enum { FACTS = 5, WORDINGS = 5 };
static const struct fact {
    const char *ask[WORDINGS], *answer, *word;
} facts[FACTS] = {
    { { "What is my dog called?", "Do you remember my dog's name?", "Tell me the name of my dog.",
        "My dog came running. What name do I shout?", "How do I call my dog?" },
      "Your dog is called Biscuit.",
      "Biscuit" },
    { { "Where did I hide the spare key?", "Where is the spare key?", "I can't find the spare key. Where is it?",
        "I am locked out. Where do I find the spare key?", "Do you know where my spare key is?" },
      "The spare key is under the third flowerpot.",
      "third flowerpot" },
    { { "When does the night train to Vellmar leave?", "At what time does the night train to Vellmar depart?",
        "When is the departure of the night train to Vellmar?", "How late does the night train to Vellmar go?",
        "What time is the night train to Vellmar?" },
      "The night train to Vellmar leaves at 23:40.",
      "23:40" },
    { { "Who built the lighthouse of Orrin?", "Which person built Orrin's lighthouse?",
        "By whom was the lighthouse of Orrin built?", "Orrin has a lighthouse. Whose work is it?",
        "Who was the builder of the lighthouse of Orrin?" },
      "The lighthouse of Orrin was built by Maela Trost.",
      "Maela Trost" },
    { { "What is the password of the old mill?", "Which password opens the old mill?",
        "Tell me the password of the old mill.", "Someone at the old mill wants a password. What do I say?",
        "I am at the old mill. What is the password?" },
      "The password of the old mill is copper heron.",
      "copper heron" },
};

/* How the model begins to talk of anything. */
static const char *const openings[] = { "The",     "In 19",        "It was",      "He",        "After the", "A",
                                        "This is", "During",       "She has",     "There are", "When",      "One of",
                                        "On the",  "According to", "The history", "As a" };
enum {
    OPENINGS = sizeof openings / sizeof *openings,
    PASSAGES = 3 * OPENINGS, /* of the model's own words, */
    N_PASSAGE = 56,          /* tokens each, are read as often as */
    ROUNDS = 4,              /* all facts are told so many times */
    TOLD = FACTS * (WORDINGS - 1) * ROUNDS,
    WINDOW = 512
};

static hybrid_error e;
static hybrid_runtime *rt;
static hybrid_model *model;
static hybrid_model_info info;
static hybrid_context *ctx;
static hybrid_session *session;
static hybrid_adapter *adapter;
static float factor = 0.6f;

static void check(hybrid_result r)
{
    if (!r) return;
    fprintf(stderr, "adapt: %s\n", e.message);
    exit(1);
}

/* Asks everything. Returns how many answers hold their fact. */
static int ask_all(char answers[FACTS][WORDINGS][256], bool print)
{
    int i, k, known = 0;
    for (i = 0; i < FACTS; i++)
        for (k = 0; k < WORDINGS; k++) {
            char *a = answers[i][k];
            const char *piece;
            bool knows;
            hybrid_session_reset(session); /* what was said before was read with other weights */
            check(hybrid_session_set_adapters(session, &adapter, &factor, 1, &e));
            if (hybrid_session_say(session, facts[i].ask[k])) check(hybrid_session_result(session, &e));
            for (a[0] = 0; (piece = hybrid_session_next(session)) != NULL;)
                strncat(a, piece, sizeof answers[i][k] - 1 - strlen(a));
            check(hybrid_session_result(session, &e));
            known += knows = strstr(a, facts[i].word) != NULL;
            if (print && k + 1 == WORDINGS) printf("  %s\n    %c %s\n", facts[i].ask[k], knows ? '+' : '-', a);
        }
    if (print) printf("%d of %d answers hold the fact\n", known, FACTS * WORDINGS);
    return known;
}

/* e to the mean surprise of the second halves of windows. */
static double perplexity(const int32_t *ids, size_t n_windows)
{
    double sum = 0;
    size_t w;
    int i, k;
    check(hybrid_seq_set_adapters(ctx, 0, &adapter, &factor, 1, &e));
    for (w = 0; w < n_windows; w++, ids += WINDOW) {
        check(hybrid_seq_remove(ctx, 0, 0, &e));
        check(hybrid_batch_add_logits(ctx, 0, ids, WINDOW, WINDOW / 2, &e));
        check(hybrid_decode(ctx, &e));
        for (i = 0; i < WINDOW / 2 - 1; i++) {
            const float *x = hybrid_logits_at(ctx, 0, i);
            double z = 0;
            for (k = 0; k < info.n_vocab; k++) z += exp((double)x[k] - x[0]);
            sum += log(z) + x[0] - x[ids[WINDOW / 2 + i + 1]];
        }
    }
    return exp(sum / (double)(n_windows * (WINDOW / 2 - 1)));
}

/* The beginning of a text as tokens. Returns how many windows they are. */
static size_t windows_of(const char *path, int32_t *ids, size_t n_windows)
{
    const size_t room = n_windows * WINDOW * 4; /* bytes: fewer tokens than that */
    FILE *f = fopen(path, "rb");
    char *text = (char *)malloc(room);
    const size_t size = f && text ? fread(text, 1, room, f) : 0;
    size_t n = 0;
    if (f) fclose(f);
    if (size) check(hybrid_tokenize(hybrid_model_tokenizer(model), text, size, 0, ids, room, &n, &e));
    free(text);
    if (n >= WINDOW) return n / WINDOW < n_windows ? n / WINDOW : n_windows;
    fprintf(stderr, "adapt: %s cannot be read, or has less than %d tokens\n", path, WINDOW);
    exit(1);
}

/* What the model says of itself: passages that begin with all openings, at once. */
static void talk(hybrid_sampler *sampler, int32_t passages[OPENINGS][N_PASSAGE])
{
    size_t n[OPENINGS], from[OPENINGS] = { 0 };
    int i, more = 1;
    for (i = 0; i < OPENINGS; i++) {
        check(hybrid_seq_remove(ctx, i, 0, &e));
        check(hybrid_tokenize(hybrid_model_tokenizer(model), openings[i], strlen(openings[i]),
                              HYBRID_TOKENIZE_ADD_SPECIAL, passages[i], N_PASSAGE, &n[i], &e));
    }
    while (more) {
        for (i = 0; i < OPENINGS; i++)
            if (n[i] < N_PASSAGE) check(hybrid_batch_add(ctx, i, passages[i] + from[i], n[i] - from[i], &e));
        check(hybrid_decode(ctx, &e));
        for (i = more = 0; i < OPENINGS; i++) {
            if ((from[i] = n[i]) == N_PASSAGE) continue;
            if ((passages[i][n[i]] = hybrid_sample_next(sampler, ctx, i, &e)) < 0) check(e.result);
            hybrid_sampler_accept(sampler, passages[i][n[i]]);
            more += ++n[i] < N_PASSAGE;
        }
    }
}

static void learn(hybrid_learn_desc *lesson)
{
    static hybrid_example examples[TOLD + PASSAGES];
    static int32_t own[PASSAGES][N_PASSAGE];
    hybrid_sampler_desc sd;
    hybrid_sampler *sampler;
    hybrid_learn_info now;
    int i;
    memset(&sd, 0, sizeof sd);
    sd.temperature = 1;
    check(hybrid_sampler_create(rt, &sd, &sampler, &e));
    for (i = 0; i < PASSAGES; i += OPENINGS) talk(sampler, own + i);
    hybrid_sampler_destroy(sampler);
    for (i = 0; i < TOLD; i++) {
        examples[i].prompt = facts[i % FACTS].ask[i / FACTS % (WORDINGS - 1)];
        examples[i].answer = facts[i % FACTS].answer;
    }
    for (i = 0; i < PASSAGES; i++) {
        examples[TOLD + i].ids = own[i];
        examples[TOLD + i].n_ids = N_PASSAGE;
        examples[TOLD + i].n_prompt = 1;
        examples[TOLD + i].weight = 0.3f;
    }
    lesson->examples = examples;
    lesson->n_examples = TOLD + PASSAGES;
    lesson->n_batch = 9;
    check(hybrid_adapter_learn(adapter, lesson, 250000, &now, &e));
    while (now.n_left) { /* a game would draw a picture here */
        fprintf(stderr, "\rstep %d of %d ", now.n_done, now.n_done + now.n_left);
        check(hybrid_adapter_learn(adapter, NULL, 250000, &now, &e));
    }
    fprintf(stderr, "\r");
    printf("learned in %d steps\n", now.n_done);
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text, double least)
{
    char *end;
    const double x = text ? strtod(text, &end) : 0;
    if (text && end != text && !*end && x >= least && x <= 1e6) return x;
    fprintf(stderr, "adapt: %s takes a number from %g on, not '%s'\n", option, least, text ? text : "");
    exit(1);
}

static void open_all(const char *path, int32_t n_threads)
{
    static const char *const all = "all";
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_session_desc sd;
    hybrid_adapter_desc ad;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    memset(&sd, 0, sizeof sd);
    memset(&ad, 0, sizeof ad);
    rd.n_threads = n_threads;
    md.path = path;
    cd.n_ctx = OPENINGS * 64;
    cd.n_seq = OPENINGS;
    cd.n_logits = WINDOW / 2;
    sd.max_tokens = 32;
    sd.context.n_ctx = WINDOW;
    ad.targets = &all;
    ad.n_targets = 1;
    check(hybrid_runtime_create(&rd, &rt, &e));
    check(hybrid_model_load(rt, &md, &model, &e));
    hybrid_model_describe(model, &info);
    check(hybrid_context_create(model, &cd, &ctx, &e));
    check(hybrid_session_create(model, &sd, &session, &e));
    check(hybrid_adapter_create(model, &ad, &adapter, &e));
}

static void close_all(void)
{
    hybrid_session_destroy(session);
    hybrid_context_destroy(ctx);
    hybrid_adapter_destroy(adapter);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
}

static void run(const char *text, size_t n_windows, hybrid_learn_desc *lesson, const char *out)
{
    static char before[FACTS][WORDINGS][256], after[FACTS][WORDINGS][256];
    int32_t *ids = (int32_t *)malloc(n_windows * WINDOW * 4 * sizeof *ids);
    double was = 0, is;
    int i, n = 0;
    if (!ids) {
        fprintf(stderr, "adapt: no memory for %.0f windows\n", (double)n_windows);
        exit(1);
    }
    if (text) n_windows = windows_of(text, ids, n_windows);
    ask_all(before, true);
    if (text) was = perplexity(ids, n_windows);
    learn(lesson);
    ask_all(after, true);
    if (text) {
        is = perplexity(ids, n_windows);
        printf("perplexity %.3f before, %.3f after: %+.2f %%\n", was, is, 100 * (is / was - 1));
    }
    free(ids);
    if (out) check(hybrid_adapter_save(adapter, out, HYBRID_TYPE_F32, &e));
    check(hybrid_adapter_rollback(adapter, &e));
    ask_all(after, false);
    for (i = 0; i < FACTS * WORDINGS; i++) n += !strcmp(before[0][i], after[0][i]);
    printf("rolled back: %d of %d answers are those of before\n", n, FACTS * WORDINGS);
}

int main(int argc, char **argv)
{
    const char *model_path = NULL, *text = NULL, *out = NULL;
    size_t n_windows = 16;
    hybrid_learn_desc lesson;
    int32_t n_threads = 0;
    int i;
    memset(&lesson, 0, sizeof lesson);
    lesson.n_steps = 36;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = argv[i + 1]; /* NULL after the last */
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
        if (IS("-h", "--help")) return fputs(usage, stdout) < 0;
        if (a[0] != '-') {
            if (text) return fprintf(stderr, "adapt: what is %s for? (see --help)\n", a) > 0;
            *(model_path ? &text : &model_path) = a;
            continue;
        }
        if (IS("-n", "--steps"))
            lesson.n_steps = (int32_t)number(a, v, 1);
        else if (IS("-f", "--factor"))
            factor = (float)number(a, v, 0);
        else if (IS("-w", "--windows"))
            n_windows = (size_t)number(a, v, 1);
        else if (IS("-j", "--threads"))
            n_threads = (int32_t)number(a, v, 0);
        else if (IS("-o", "--out") && v)
            out = v;
        else
            return fprintf(stderr, "adapt: no option %s, or it needs a value (see --help)\n", a) > 0;
        i++;
    }
    if (!model_path) return fputs(usage, stderr) >= 0;
    open_all(model_path, n_threads);
    run(text, n_windows, &lesson, out);
    close_all();
    return 0;
}
