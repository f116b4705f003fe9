/* npc: a character in a scene that goes on at 60 frames a second: it thinks for four milliseconds of each frame, and
 * what you say interrupts it.
 *
 *     cc -O2 npc.c -o npc -lm                            (hybrid.h beside it)
 *     ./npc model.gguf                                   say something, at any time; an empty line leaves
 *     ./npc model.gguf --alone                           by itself, for tests
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <poll.h> /* of POSIX: to read what is typed while the scene goes on, which in a game are its events */
#include <stdio.h>
#include <string.h>

static const char usage[] = "npc: a character in a scene that goes on at 60 frames a second\n"
                            "\n"
                            "usage: npc MODEL.gguf [--alone]\n"
                            "\n"
                            "Say something, at any time, also while it speaks; an empty line leaves. --alone: it is\n"
                            "greeted and interrupted by itself, and the scene ends.\n";

/* What is left of a frame passes. Returns a line if one was typed, else NULL. */
static const char *typed(char line[512])
{
    struct pollfd in = { 0, POLLIN, 0 };
    return poll(&in, 1, 12) <= 0 ? NULL : fgets(line, 512, stdin) ? line : "\n";
}

int main(int argc, char **argv)
{
    const char *const alone[] = { "Good morning!", "What are you making?", "\n" };
    hybrid_session_desc d = { .system = "You are Bram, a grumpy smith. Answer in one short sentence." };
    hybrid_model *model = NULL;
    hybrid_session *npc = NULL;
    hybrid_piece piece;
    hybrid_error err = { 0 };
    char line[512];
    int frame, talks = 0, help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    if (help || argc < 2 || argc > 3) return fputs(usage, help ? stdout : stderr), !help;
    if (!hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err))
        hybrid_session_create(model, &d, &npc, &err);
    for (frame = 0; npc && !err.result; frame++) {
        const char *said = argc == 2 ? typed(line) : frame % 100 ? NULL : alone[frame / 100];
        if (said && *said == '\n') break;
        if (said && talks) printf(" ...\n"); /* in the middle of a word, or before one: what was said of it stays */
        if (said && !hybrid_session_say(npc, said)) talks = printf("Bram: ");
        if (talks) hybrid_session_step(npc, 4000, &piece);
        if (talks) printf("%s%s", piece.text, piece.stop ? "\n" : ""), fflush(stdout);
        if (talks && piece.stop) talks = 0;
        hybrid_session_result(npc, &err);
    }
    if (err.result) fprintf(stderr, "npc: %s\n", err.message);
    hybrid_session_destroy(npc);
    hybrid_model_destroy(model);
    return err.result != 0;
}
