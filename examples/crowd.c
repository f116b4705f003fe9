/* crowd: eight characters in one context, one call a frame: what they have in common is computed and stored once, and
 * they are computed in one batch.
 *
 *     cc -O2 crowd.c -o crowd -lm                        (hybrid.h beside it)
 *     ./crowd model.gguf "Who are you?"
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <string.h>

static const char usage[] = "crowd: eight characters answer a question at the same time\n"
                            "\n"
                            "usage: crowd MODEL.gguf QUESTION\n"
                            "\n"
                            "A dot for every 16 frames that they think, and then what each has said.\n";

int main(int argc, char **argv)
{
    static const char *const names[] = { "smith", "baker", "guard", "thief", "witch", "king", "fool", "ghost" };
    hybrid_session_desc d = { .system = "You live in a village where it rains a lot. Answer the traveller in one short "
                                        "sentence, and say what you do.",
                              .max_tokens = 40 };
    hybrid_model *model = NULL;
    hybrid_crowd *crowd = NULL;
    hybrid_session *who[8] = { NULL };
    hybrid_piece piece;
    hybrid_error err = { 0 };
    char say[600];
    int i, frame, left = 0;
    const int help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    if (help || argc != 3) return fputs(usage, help ? stdout : stderr), !help;
    if (!hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) &&
        !hybrid_context_create(model, &(hybrid_context_desc){ .n_ctx = 2048, .n_seq = 8 }, &d.context_shared, &err))
        hybrid_crowd_create(d.context_shared, &crowd, &err);
    for (i = 0; i < 8 && crowd && !hybrid_session_create(model, &d, &who[i], &err); i++) {
        snprintf(say, sizeof say, "You are the %s. %s", names[i], argv[2]);
        if (hybrid_crowd_add(crowd, who[i], 1, &err) || hybrid_session_say(who[i], say)) break;
        left++;
    }
    for (frame = 0; left && !hybrid_crowd_step(crowd, 4000, &err); frame++) { /* in a game, once a frame */
        while (hybrid_crowd_next(crowd, &piece) != NULL) left -= piece.stop != HYBRID_STOP_NONE;
        if (frame % 16 == 0) putchar('.'), fflush(stdout);
    }
    for (i = 0; i < 8 && who[i]; i++) printf("\n%s: %s\n", names[i], hybrid_session_message(who[i], 2).content);
    for (i = 0; i < 8 && who[i] && !err.result; i++) hybrid_session_result(who[i], &err);
    if (err.result) fprintf(stderr, "crowd: %s\n", err.message);
    hybrid_crowd_destroy(crowd);
    for (i = 0; i < 8; i++) hybrid_session_destroy(who[i]);
    hybrid_context_destroy(d.context_shared);
    hybrid_model_destroy(model);
    return err.result != 0;
}
