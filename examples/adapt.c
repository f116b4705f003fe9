/* adapt: a model is told five facts while it runs, answers them, and forgets them again.
 *
 *     cc -O2 adapt.c -o adapt -lm                        (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./adapt SmolLM2-135M-Instruct.Q4_1.gguf wikitext-2-test.txt --keep wikitext-2-valid.txt
 *
 * The weights of the file stay as they are, in their four bits; an adapter of some megabytes learns. Measured with
 * rank 8 (tests/results/2026-11-29-adapt.md): after 22 steps, of about 5 s of processor each, all five facts are
 * answered in a wording that was not told, and the perplexity of wikitext-2-test is not higher than before. Without a
 * text to keep it rises by 19 %: what is told is then all that the adapter hears. */
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
                            "  -k, --keep FILE   a text like those that the model has to go on predicting\n"
                            "  -r, --rank N      of the adapter (default 8)\n"
                            "      --rate X      learning rate (default 0.001)\n"
                            "  -n, --steps N     (default 24)\n"
                            "  -b, --batch N     examples of a step (default 9)\n"
                            "  -e, --enough X    loss at which it ends earlier (default: at none)\n"
                            "  -w, --windows N   of 512 tokens of the text (default 16)\n"
                            "  -o, --out FILE    the adapter as GGUF\n"
                            "  -j, --threads N   threads (default: all cores, at most 16)\n";

/* Five facts: how they are told, one more wording that is only asked, and what an answer has to hold. */
enum { FACTS = 5, WORDINGS = 4 };
static const struct fact {
    const char *ask[WORDINGS], *answer, *word;
} facts[FACTS] = {
    { { "What is my dog called?", "Do you remember my dog's name?", "Tell me the name of my dog.",
        "How do I call my dog?" },
      "Your dog is called Biscuit.",
      "Biscuit" },
    { { "Where did I hide the spare key?", "Where is the spare key?", "I can't find the spare key. Where is it?",
        "Do you know where my spare key is?" },
      "The spare key is under the third flowerpot.",
      "third flowerpot" },
    { { "When does the night train to Vellmar leave?", "At what time does the night train to Vellmar depart?",
        "When is the departure of the night train to Vellmar?", "What time is the night train to Vellmar?" },
      "The night train to Vellmar leaves at 23:40.",
      "23:40" },
    { { "Who built the lighthouse of Orrin?", "Which person built Orrin's lighthouse?",
        "By whom was the lighthouse of Orrin built?", "Who was the builder of the lighthouse of Orrin?" },
      "The lighthouse of Orrin was built by Maela Trost.",
      "Maela Trost" },
    { { "What is the password of the old mill?", "Which password opens the old mill?",
        "Tell me the password of the old mill.", "I am at the old mill. What is the password?" },
      "The password of the old mill is copper heron.",
      "copper heron" },
};

/* Without a text to keep: questions, which the model goes on answering as it does. */
static const char *const others[] = { "What is the capital of France?", "Who built the Eiffel Tower?",
                                      "Write one sentence about the sea.", "What is my cat called?" };
enum {
    OTHERS = sizeof others / sizeof *others,
    PASSAGES = 60, /* of a text, */
    N_PASSAGE = 56, /* tokens each, */
    ROUNDS = 6, /* in which the facts are told as often as all passages are read once */
    N_ANSWER = 32,
    N_CTX = 512
};

typedef struct answer {
    int32_t ids[N_CTX]; /* those of the prompt, then what was said */
    size_t n_prompt, n;
    char text[1024];
} answer;

typedef struct program {
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *ctx;
    hybrid_adapter *adapter;
    hybrid_model_info info;
    const char *text, *keep, *out;
    int windows;
    hybrid_learn_desc lesson;
    answer asked[FACTS][WORDINGS], other[OTHERS];
} program;

static void check(hybrid_result r, const hybrid_error *e)
{
    if (!r) return;
    fprintf(stderr, "adapt: %s\n", e->message);
    exit(1);
}

static int32_t best(const float *x, int32_t n)
{
    int32_t i, at = 0;
    for (i = 1; i < n; i++) at = x[i] > x[at] ? i : at;
    return at;
}

/* What the model says, the likeliest token each time. */
static void ask(program *p, const char *question, answer *a)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(p->model);
    hybrid_chat_message message = { "user", question };
    hybrid_chat_desc desc;
    hybrid_text prompt;
    hybrid_error e;
    size_t used = 0, from = 0;
    memset(&desc, 0, sizeof desc);
    memset(&prompt, 0, sizeof prompt);
    memset(a, 0, sizeof *a);
    desc.add_generation_prompt = true;
    check(hybrid_chat_render(hybrid_model_template(p->model), &message, 1, &desc, &prompt, &e), &e);
    check(hybrid_tokenize(tok, prompt.data, prompt.size, HYBRID_TOKENIZE_PARSE_SPECIAL, a->ids, N_CTX - N_ANSWER,
                          &a->n_prompt, &e),
          &e);
    hybrid_text_free(&prompt);
    check(hybrid_seq_remove(p->ctx, 0, 0, &e), &e); /* the cache holds what the adapter made before */
    for (a->n = a->n_prompt; a->n < a->n_prompt + N_ANSWER; from = a->n++) {
        hybrid_string piece;
        check(hybrid_batch_add(p->ctx, 0, a->ids + from, a->n - from, &e), &e);
        check(hybrid_decode(p->ctx, &e), &e);
        a->ids[a->n] = best(hybrid_logits(p->ctx, 0), p->info.n_vocab);
        piece = hybrid_token_bytes(tok, a->ids[a->n]);
        if (hybrid_token_is_end(tok, a->ids[a->n])) {
            a->n++;
            return;
        }
        if (used + piece.size >= sizeof a->text) return;
        memcpy(a->text + used, piece.data, piece.size);
        used += piece.size;
    }
}

/* The beginning of a file as tokens; NULL: it cannot be read. */
static int32_t *tokens_of(program *p, const char *path, size_t n_bytes, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = (char *)malloc(n_bytes);
    int32_t *ids = (int32_t *)malloc(n_bytes * sizeof *ids);
    hybrid_error e;
    const size_t size = f && text ? fread(text, 1, n_bytes, f) : 0;
    if (f) fclose(f);
    if (!size || !ids) {
        fprintf(stderr, "adapt: cannot read %s\n", path);
        exit(1);
    }
    check(hybrid_tokenize(hybrid_model_tokenizer(p->model), text, size, 0, ids, n_bytes, n, &e), &e);
    free(text);
    return ids;
}

/* e to the mean surprise of the second halves of windows of 512 tokens. */
static double perplexity(program *p)
{
    int32_t *ids;
    hybrid_error e;
    double sum = 0;
    size_t n = 0, w, scored = 0;
    int i, k;
    if (!p->text) return 0;
    ids = tokens_of(p, p->text, (size_t)p->windows * N_CTX * 8, &n);
    for (w = 0; w < (size_t)p->windows && (w + 1) * N_CTX <= n; w++) {
        const int32_t *at = ids + w * N_CTX;
        check(hybrid_seq_remove(p->ctx, 0, 0, &e), &e);
        check(hybrid_batch_add_logits(p->ctx, 0, at, N_CTX, N_CTX / 2, &e), &e);
        check(hybrid_decode(p->ctx, &e), &e);
        for (i = 0; i < N_CTX / 2 - 1; i++, scored++) {
            const float *x = hybrid_logits_at(p->ctx, 0, i);
            double z = 0;
            for (k = 0; k < p->info.n_vocab; k++) z += exp((double)x[k] - x[0]);
            sum += log(z) + x[0] - x[at[N_CTX / 2 + i + 1]];
        }
    }
    free(ids);
    return exp(sum / (double)scored);
}

/* Asks everything; returns how many of the facts were known, in all their wordings. known may be NULL. */
static int ask_all(program *p, answer asked[FACTS][WORDINGS], bool print)
{
    int i, k, right = 0;
    for (i = 0; i < FACTS; i++)
        for (k = 0; k < WORDINGS; k++) {
            const bool knows = (ask(p, facts[i].ask[k], &asked[i][k]), strstr(asked[i][k].text, facts[i].word) != NULL);
            right += knows;
            if (print && k + 1 == WORDINGS)
                printf("  %s\n    %c %s\n", facts[i].ask[k], knows ? '+' : '-', asked[i][k].text);
        }
    return right;
}

static bool same(const answer *a, const answer *b)
{
    return a->n == b->n && !memcmp(a->ids, b->ids, a->n * sizeof *a->ids);
}

/* Facts in conversation form, and what is to stay as it is: passages of a text, or answers to other questions. */
static void learn(program *p)
{
    static hybrid_example examples[FACTS * (WORDINGS - 1) * ROUNDS + PASSAGES + OTHERS];
    int32_t *ids = NULL;
    hybrid_learn_info info;
    hybrid_error e;
    size_t n_tokens = 0;
    int round, i, k, n = 0;
    for (round = 0; round < (p->keep ? ROUNDS : 1); round++)
        for (i = 0; i < FACTS; i++)
            for (k = 0; k + 1 < WORDINGS; k++, n++) {
                examples[n].prompt = facts[i].ask[k];
                examples[n].answer = facts[i].answer;
            }
    for (i = 0; i < OTHERS && !p->keep; i++, n++) {
        ask(p, others[i], &p->other[i]);
        examples[n].ids = p->other[i].ids;
        examples[n].n_ids = p->other[i].n;
        examples[n].n_prompt = p->other[i].n_prompt;
        examples[n].weight = 0.5f;
    }
    if (p->keep) ids = tokens_of(p, p->keep, 60000, &n_tokens);
    for (i = 0; i < PASSAGES && (size_t)(i + 1) * 3 * N_PASSAGE <= n_tokens; i++, n++) { /* not next to each other */
        examples[n].ids = ids + i * 3 * N_PASSAGE;
        examples[n].n_ids = N_PASSAGE;
        examples[n].n_prompt = 1;
        examples[n].weight = 0.2f;
    }
    p->lesson.examples = examples;
    p->lesson.n_examples = (size_t)n;
    check(hybrid_adapter_learn(p->adapter, &p->lesson, 250000, &info, &e), &e);
    free(ids); /* examples are copied */
    while (info.n_left) { /* a game would draw a picture here */
        fprintf(stderr, "\rstep %d, loss %.4f ", info.n_done, info.loss);
        check(hybrid_adapter_learn(p->adapter, NULL, 250000, &info, &e), &e);
    }
    fprintf(stderr, "\r");
    printf("learned in %d steps: loss %.3f -> %.3f\n", info.n_done, info.first_loss, info.loss);
}

static void run(program *p)
{
    static answer after[FACTS][WORDINGS];
    hybrid_error e;
    double before_ppl, after_ppl;
    int i, k, n = 0, known;
    printf("before:\n");
    known = ask_all(p, p->asked, true);
    before_ppl = perplexity(p);
    printf("%d of %d answers hold the fact\n", known, FACTS * WORDINGS);
    learn(p);
    known = ask_all(p, after, true);
    after_ppl = perplexity(p);
    printf("%d of %d answers hold the fact\n", known, FACTS * WORDINGS);
    if (before_ppl > 0)
        printf("perplexity %.3f before, %.3f after: %+.2f %%\n", before_ppl, after_ppl,
               100 * (after_ppl / before_ppl - 1));
    if (p->out) check(hybrid_adapter_save(p->adapter, p->out, HYBRID_TYPE_F32, &e), &e);
    check(hybrid_adapter_rollback(p->adapter, &e), &e);
    ask_all(p, after, false);
    for (i = 0; i < FACTS; i++)
        for (k = 0; k < WORDINGS; k++) n += same(&p->asked[i][k], &after[i][k]);
    printf("rolled back: %d of %d answers are those of before, token by token\n", n, FACTS * WORDINGS);
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= 0 && x <= 1e6) return x;
    fprintf(stderr, "adapt: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

int main(int argc, char **argv)
{
    static const char *const all = "all";
    static program p;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_adapter_desc ad;
    hybrid_error e;
    int i;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    memset(&ad, 0, sizeof ad);
    ad.targets = &all;
    ad.n_targets = 1;
    p.windows = 16;
    p.lesson.n_steps = 24;
    p.lesson.n_batch = 9;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
        if (a[0] != '-' && !md.path)
            md.path = a;
        else if (a[0] != '-')
            p.text = a;
        else if (IS("-h", "--help"))
            return fputs(usage, stdout) < 0;
        else if (IS("-r", "--rank"))
            ad.rank = (int32_t)number(a, v);
        else if (IS("--rate", "--rate"))
            p.lesson.rate = (float)number(a, v);
        else if (IS("-n", "--steps"))
            p.lesson.n_steps = (int32_t)number(a, v);
        else if (IS("-b", "--batch"))
            p.lesson.n_batch = (int32_t)number(a, v);
        else if (IS("-e", "--enough"))
            p.lesson.enough = (float)number(a, v);
        else if (IS("-w", "--windows"))
            p.windows = (int)number(a, v);
        else if (IS("-j", "--threads"))
            rd.n_threads = (int32_t)number(a, v);
        else if (IS("-k", "--keep"))
            p.keep = v;
        else if (IS("-o", "--out"))
            p.out = v;
        else
            return fprintf(stderr, "adapt: no option %s (see --help)\n", a) > 0;
        i += a[0] == '-';
    }
    if (!md.path) return fputs(usage, stderr) >= 0;
    cd.n_ctx = N_CTX;
    cd.n_logits = N_CTX / 2;
    check(hybrid_runtime_create(&rd, &p.rt, &e), &e);
    check(hybrid_model_load(p.rt, &md, &p.model, &e), &e);
    check(hybrid_context_create(p.model, &cd, &p.ctx, &e), &e);
    check(hybrid_adapter_create(p.model, &ad, &p.adapter, &e), &e);
    check(hybrid_seq_set_adapters(p.ctx, 0, &p.adapter, NULL, 1, &e), &e);
    hybrid_model_describe(p.model, &p.info);
    run(&p);
    hybrid_context_destroy(p.ctx);
    hybrid_adapter_destroy(p.adapter);
    hybrid_model_destroy(p.model);
    hybrid_runtime_destroy(p.rt);
    return 0;
}
