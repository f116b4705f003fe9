/* form: a question to a model, answered in JSON that fits a JSON Schema.
 *
 *     cc -O2 form.c -o form -lm                          (hybrid.h beside it)
 *     ./form model.gguf "Invent a villager."             with a schema of its own; or with yours:
 *     ./form model.gguf "Is it blue?" '{"type":"boolean"}'
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <string.h>

static const char usage[] = "form: a question to a model, answered in JSON that fits a JSON Schema\n"
                            "\n"
                            "usage: form MODEL.gguf QUESTION [SCHEMA]\n"
                            "\n"
                            "Without a schema, the answer is a villager: a name, a trade, an age, and what is sold.\n";

static const char villager[] =
    "{\"type\": \"object\", \"properties\": {"
    "  \"name\":  {\"type\": \"string\", \"pattern\": \"^[A-Z][a-z]{1,11}$\"},"
    "  \"trade\": {\"enum\": [\"smith\", \"baker\", \"healer\"]},"
    "  \"age\":   {\"type\": \"integer\", \"minimum\": 16, \"maximum\": 90},"
    "  \"sells\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"pattern\": \"^[a-z ]{3,16}$\"}, "
    "\"maxItems\": 3}"
    "}, \"required\": [\"name\", \"trade\", \"age\", \"sells\"], \"additionalProperties\": false}";

int main(int argc, char **argv)
{
    hybrid_session_desc d = { .sampler = { .temperature = 0.7f }, .max_tokens = 256 };
    hybrid_session_info info = { 0 };
    hybrid_model *model = NULL;
    hybrid_session *session = NULL;
    hybrid_error err;
    const char *piece;
    const int help = argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    if (help || argc < 3 || argc > 4) return fputs(usage, help ? stdout : stderr), !help;
    if (!hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) &&
        !hybrid_session_create(model, &d, &session, &err)) {
        if (!hybrid_session_say_json(session, argv[2], argc > 3 ? argv[3] : villager))
            while ((piece = hybrid_session_next(session)) != NULL) fputs(piece, stdout), fflush(stdout);
        hybrid_session_result(session, &err);
        hybrid_session_describe(session, &info);
    }
    printf("\n");
    if (info.stop == HYBRID_STOP_LIMIT || info.stop == HYBRID_STOP_CONTEXT)
        fprintf(stderr, "form: the answer was cut: it got too long\n");
    else if (info.stop != HYBRID_STOP_END)
        fprintf(stderr, "form: %s\n", err.message);
    hybrid_session_destroy(session);
    hybrid_model_destroy(model);
    return info.stop != HYBRID_STOP_END;
}
