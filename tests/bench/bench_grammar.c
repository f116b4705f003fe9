/* How long grammars take: bench_grammar VOCAB.gguf gbnf|schema GRAMMAR TEXT. The text, which must fit, is followed
 * token by token, with a mask before each; twice: with no mask known yet, and with those of the first time. Prints
 * JSON; bench_grammar.py makes a table of it. */
#define HYBRID_IMPLEMENTATION
#include "../../hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static hybrid_error e;
static void check(hybrid_result r)
{
    if (!r) return;
    fprintf(stderr, "bench_grammar: %s\n", e.message);
    exit(1);
}

/* Follows the ids; the times of the masks in microseconds: their mean and the longest. */
static void follow(hybrid_matcher *m, const hybrid_lexicon *x, const int32_t *ids, size_t n, double *mean, double *most)
{
    const uint32_t *mask;
    size_t i, n_words;
    *mean = *most = 0;
    hybrid_matcher_reset(m);
    for (i = 0; i < n; i++) {
        const double t = now();
        double took;
        check(hybrid_matcher_mask(m, x, &mask, &n_words, &e));
        took = now() - t;
        *mean += took / (double)n;
        if (took > *most) *most = took;
        if (!(mask[ids[i] / 32] >> ids[i] % 32 & 1)) {
            fprintf(stderr, "bench_grammar: token %d of the text is not allowed\n", (int)i);
            exit(1);
        }
        check(hybrid_matcher_accept_token(m, x, ids[i], &e));
    }
    if (!hybrid_matcher_can_end(m)) fprintf(stderr, "bench_grammar: the text is not finished\n"), exit(1);
}

int main(int argc, char **argv)
{
    static int32_t ids[4096];
    hybrid_grammar_desc gd;
    hybrid_source source;
    hybrid_gguf *gguf;
    hybrid_tokenizer *tok;
    hybrid_lexicon *x;
    hybrid_grammar *g = NULL;
    hybrid_matcher *m;
    double t, compile = 1e30, words, mean[2], most[2];
    size_t n, i;
    memset(&source, 0, sizeof source);
    memset(&gd, 0, sizeof gd);
    if (argc != 5) return fprintf(stderr, "usage: bench_grammar VOCAB.gguf gbnf|schema GRAMMAR TEXT\n"), 2;
    source.path = argv[1];
    *(strcmp(argv[2], "schema") ? &gd.gbnf : &gd.schema) = argv[3];
    check(hybrid_gguf_open(NULL, &source, &gguf, &e));
    check(hybrid_tokenizer_from_gguf(NULL, gguf, &tok, &e));
    t = now();
    check(hybrid_lexicon_create(tok, &x, &e));
    words = now() - t;
    for (i = 0; i < 5; i++) {
        hybrid_grammar_destroy(g);
        t = now();
        check(hybrid_grammar_create(NULL, &gd, &g, &e));
        if (now() - t < compile) compile = now() - t;
    }
    check(hybrid_tokenize(tok, argv[4], strlen(argv[4]), 0, ids, 4096, &n, &e));
    check(hybrid_matcher_create(g, &m, &e));
    follow(m, x, ids, n, &mean[0], &most[0]);
    follow(m, x, ids, n, &mean[1], &most[1]);
    printf("{\"lexicon\": %.1f, \"compile\": %.1f, \"tokens\": [", words, compile);
    for (i = 0; i < n; i++) printf("%s%d", i ? ", " : "", ids[i]);
    printf("], \"mean\": [%.2f, %.2f], \"most\": [%.2f, %.2f]}\n", mean[0], mean[1], most[0], most[1]);
    return 0;
}
