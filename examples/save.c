/* save: a conversation that goes on in the next run, in the middle of a word if need be.
 *
 *     cc -O2 save.c -o save -lm                          (hybrid.h beside it)
 *     ./save model.gguf talk.game "My name is Ada."      begins, or goes on where talk.game ends
 *     ./save model.gguf talk.game "What is my name?" 3   saves after three pieces of the answer
 *     ./save model.gguf talk.game                        the rest of it
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "save: a conversation that goes on in the next run\n"
    "\n"
    "usage: save MODEL.gguf FILE [TEXT [PIECES]]\n"
    "\n"
    "FILE holds the conversation; without it, one begins. TEXT is what you say; without it, an\n"
    "answer that was broken off after so many PIECES goes on.\n";

int main(int argc, char **argv)
{
    hybrid_session_desc d = { .system = "Answer in one sentence.",
                              .sampler = { .temperature = 0.6f },
                              .max_tokens = 80 };
    hybrid_model *model = NULL;
    hybrid_session *talk = NULL;
    hybrid_error err;
    hybrid_result r;
    const char *piece;
    int left = argc > 4 ? atoi(argv[4]) : -1;
    const int help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    if (help || argc < 3 || argc > 5) return fputs(usage, help ? stdout : stderr), !help;
    r = hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err);
    if (!r) r = hybrid_session_create(model, &d, &talk, &err);
    if (!r) {
        FILE *game = fopen(argv[2], "rb");
        if (game) r = hybrid_session_load(talk, NULL, &(hybrid_source){ .path = argv[2] }, &err);
        if (game) fclose(game);
    }
    if (!r && argc > 3) hybrid_session_say(talk, argv[3]);
    while (!r && left-- && (piece = hybrid_session_next(talk)) != NULL) fputs(piece, stdout), fflush(stdout);
    if (!r) r = hybrid_session_result(talk, &err);
    if (!r) r = hybrid_session_save(talk, NULL, &(hybrid_target){ .path = argv[2] }, &err);
    printf("\n");
    if (r) fprintf(stderr, "save: %s\n", err.message);
    hybrid_session_destroy(talk);
    hybrid_model_destroy(model);
    return r != HYBRID_OK;
}
