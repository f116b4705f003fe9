/* choose: which of several texts does a model find likeliest after a prompt? A question with answers to choose from.
 *
 *     cc -O2 choose.c -o choose -lm                      (hybrid.h beside it)
 *     ./choose model.gguf "The capital of France is" " Rome" " Paris" " London"
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "choose: which of several texts does a model find likeliest after a prompt?\n"
    "\n"
    "usage: choose MODEL.gguf PROMPT TEXT TEXT...\n"
    "\n"
    "Prints each text with its share among them, the logarithm of its probability (in nats) and\n"
    "that of a token of it on average; the likeliest one has a star. Texts begin as they would\n"
    "after the prompt: \" Paris\", with its space.\n";

int main(int argc, char **argv)
{
    hybrid_model *model = NULL;
    hybrid_context *context = NULL;
    hybrid_score_info *scores = NULL;
    hybrid_error err = { 0 };
    const int help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")), n = argc - 3;
    int i, best = 0, done = 0;
    double sum = 0;
    if (help || n < 2) return fputs(usage, help ? stdout : stderr), !help;
    scores = calloc((size_t)n, sizeof *scores);
    if (scores && !hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) &&
        !hybrid_context_create(model, &(hybrid_context_desc){ .n_ctx = 2048, .n_seq = 9, .n_logits = 64 }, &context,
                               &err))
        done = !hybrid_score(context,
                             &(hybrid_score_desc){
                                 .prompt = argv[2], .texts = (const char *const *)argv + 3, .n_texts = (size_t)n },
                             scores, &err);
    for (i = 0; i < n && done; i++) best = scores[i].sum > scores[best].sum ? i : best;
    for (i = 0; i < n && done; i++) sum += exp(scores[i].sum - scores[best].sum);
    for (i = 0; i < n && done; i++)
        printf("%c %6.2f %%  %8.2f nats  %6.2f a token  %s\n", i == best ? '*' : ' ',
               100 * exp(scores[i].sum - scores[best].sum) / sum, scores[i].sum, scores[i].mean, argv[i + 3]);
    if (!done) fprintf(stderr, "choose: %s\n", scores ? err.message : "out of memory");
    free(scores);
    hybrid_context_destroy(context);
    hybrid_model_destroy(model);
    return !done;
}
