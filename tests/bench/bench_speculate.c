/* bench_speculate: what guessing the next tokens is worth.
 *
 *     make bench-speculate        SmolLM2; ARGS='model.gguf --runs 5 --threads 2 --tokens 160 --only prose'
 *                                 ARGS='model.gguf --draft smaller.gguf': with a draft, whose guesses are counted
 *
 * First what a decode of several rows costs beside that of one. Then four kinds of answers: JSON of a schema, a file
 * that is written again with a change, a quote of the prompt, prose; each without speculation, with what `auto` makes
 * of it, and with all guesses, by turns in one run. Medians of tokens a second, without the prompt. That the three
 * texts are the same is checked. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 32, ROWS = 16, MODES = 3 };

static double now_us(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static const char schema[] =
    "{\"type\":\"array\",\"minItems\":4,\"maxItems\":4,\"items\":{\"type\":\"object\",\"properties\":{"
    "\"name\":{\"type\":\"string\",\"maxLength\":20},\"occupation\":{\"type\":\"string\",\"maxLength\":20},"
    "\"age_in_years\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":99},\"is_married\":{\"type\":\"boolean\"},"
    "\"home_village\":{\"enum\":[\"Lower Barley\",\"Upper Barley\"]}},"
    "\"required\":[\"name\",\"occupation\",\"age_in_years\",\"is_married\",\"home_village\"],"
    "\"additionalProperties\":false}}";

static const char code[] =
    "Rename the function `count_words` to `number_of_words` in this file, and write the whole file again:\n\n"
    "```c\n#include <ctype.h>\n#include <stdio.h>\n\n/* Words of a text, separated by white space. */\n"
    "static int count_words(const char *text)\n{\n    int words = 0, inside = 0;\n    for (; *text; text++) {\n"
    "        if (isspace((unsigned char)*text)) {\n            inside = 0;\n        } else if (!inside) {\n"
    "            inside = 1;\n            words++;\n        }\n    }\n    return words;\n}\n\nint main(void)\n{\n"
    "    char line[256];\n    int total = 0;\n    while (fgets(line, sizeof line, stdin)) {\n"
    "        total += count_words(line);\n    }\n    printf(\"%d words\\n\", total);\n    return 0;\n}\n```\n";

static const char quote[] = "Repeat this text word for word:\n\n"
    "The village lies in a valley between two rivers, and its people have lived there for longer than anybody can "
    "remember. They grow barley and apples, keep goats on the slopes, and trade cheese for salt with the towns by the "
    "sea. Every autumn they light a fire on the hill to call back those who went away. Some of them return, and some "
    "send letters, and of some nothing is ever heard again.";

static const char prose[] =
    "Tell me a story about somebody who left a village between two rivers, and why they came back.";

typedef struct work {
    const char *name, *text, *begin, *schema;
    float temperature;
} work;

static const work works[] = {
    { "JSON of a schema", "Make a list of four people who live in a village.", NULL, schema, 0 },
    { "JSON, sampled at 0.8", "Make a list of four people who live in a village.", NULL, schema, 0.8f },
    { "code, one name changed", code, "```c\n", NULL, 0 },
    { "a quote of the prompt", quote, "The village", NULL, 0 },
    { "prose, greedy", prose, NULL, NULL, 0 },
    { "prose, sampled at 0.8", prose, NULL, NULL, 0.8f },
};
static const char *const modes[MODES] = { "plain", "auto", "always" };

typedef struct result {
    double speed[RUNS];
    unsigned hash;
    hybrid_session_info info;
} result;

static int one(hybrid_session *s, const work *w, int mode, int run, result *r)
{
    const hybrid_sampler_desc sampler = { .temperature = w->temperature, .seed = 5 };
    const hybrid_answer_desc how = { .begin = w->begin,
                                     .sampler = &sampler,
                                     .speculation = (hybrid_speculation)(HYBRID_SPECULATION_OFF + mode) };
    hybrid_grammar *form = NULL;
    const char *p;
    double us;
    int failed = 0;
    hybrid_session_reset(s);
    if (w->schema && hybrid_grammar_create(NULL, &(hybrid_grammar_desc){ .schema = w->schema }, &form, NULL)) return 1;
    if (hybrid_session_set_grammar(s, form, NULL) || hybrid_session_answer(s, w->text, &how)) failed = 1;
    us = now_us();
    for (r->hash = 2166136261u; !failed && (p = hybrid_session_next(s)) != NULL;)
        for (; *p; p++) r->hash = (r->hash ^ (unsigned char)*p) * 16777619u;
    us = now_us() - us;
    hybrid_session_describe(s, &r->info);
    r->speed[run] = r->info.n_generated / (us - (double)r->info.prompt_us) * 1e6;
    if (!failed && getenv("SHOW") && !mode)
        printf("%s\n", hybrid_session_message(s, hybrid_session_count(s) - 1).content);
    if (hybrid_session_set_grammar(s, NULL, NULL)) failed = 1;
    hybrid_session_reset(s);
    if (form) {
        hybrid_session_complete(s, "x"); /* the next answer lets go of the grammar */
        hybrid_session_reset(s);
    }
    hybrid_grammar_destroy(form);
    return failed;
}

/* Decodes of 1 to ROWS rows after 300 tokens, all with logits. */
static int rows(hybrid_model *model)
{
    static double us[ROWS + 1][RUNS];
    hybrid_context *c = NULL;
    int32_t ids[300 + ROWS], i, k;
    hybrid_error err;
    for (i = 0; i < 300 + ROWS; i++) ids[i] = 300 + i * 7919 % 20000;
    if (hybrid_context_create(model, &(hybrid_context_desc){ .n_ctx = 512, .n_logits = ROWS }, &c, &err) ||
        hybrid_batch_add(c, 0, ids, 300, &err) || hybrid_decode(c, &err))
        return fprintf(stderr, "bench_speculate: %s\n", err.message), 1;
    for (i = 0; i < 15; i++)
        for (k = 1; k <= ROWS; k++) {
            const double since = now_us();
            if (hybrid_batch_add_logits(c, 0, ids + 300, (size_t)k, k, &err) || hybrid_decode(c, &err)) return 1;
            us[k][i] = now_us() - since;
            if (hybrid_seq_remove(c, 0, 300, &err)) return 1;
        }
    printf("| rows |");
    for (k = 1; k <= ROWS; k++) printf(" %d |", k);
    printf("\n|---|");
    for (k = 1; k <= ROWS; k++) printf("---|");
    printf("\n| time |");
    for (k = 1; k <= ROWS; k++) printf(" %.2f |", median(us[k], 15) / median(us[1], 15));
    printf("\n\nOf one row: %.2f ms.\n\n", median(us[1], 15) / 1e3);
    hybrid_context_destroy(c);
    return 0;
}

int main(int argc, char **argv)
{
    hybrid_runtime_desc rd = { .n_threads = 2 };
    hybrid_session_desc d = { .max_tokens = 160, .speculation = HYBRID_SPECULATION_AUTO, .context = { .n_ctx = 2048 } };
    static result r[MODES];
    const char *only = "", *draft = NULL;
    hybrid_runtime *rt = NULL;
    hybrid_model *model = NULL, *small = NULL;
    hybrid_session *s = NULL;
    hybrid_error err;
    int runs = 5, i, k, m, failed = 0;
    for (i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--runs")) runs = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--threads")) rd.n_threads = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--tokens")) d.max_tokens = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--guess")) d.n_guess = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--only")) only = argv[i + 1];
        if (!strcmp(argv[i], "--draft")) draft = argv[i + 1];
    }
    if (argc < 2 || runs < 1 || runs > RUNS) return fprintf(stderr, "usage: bench_speculate MODEL.gguf ...\n"), 2;
    if (hybrid_runtime_create(&rd, &rt, &err) ||
        hybrid_model_load(rt, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) ||
        (draft && (hybrid_model_load(rt, &(hybrid_model_desc){ .path = draft }, &small, &err) ||
                   hybrid_context_create(small, &(hybrid_context_desc){ .n_ctx = 2048 }, &d.draft, &err))) ||
        hybrid_session_create(model, &d, &s, &err))
        return fprintf(stderr, "bench_speculate: %s\n", err.message), 1;
    printf("%s, %d threads, %s, medians of %d runs\n\n", argv[1], rd.n_threads, hybrid_runtime_isa(rt), runs);
    if (!*only && rows(model)) return 1;
    if (draft) printf("The draft is %s.\n\n", draft);
    printf("| answer | tokens | plain, tokens/s | auto | of plain | right of guessed | always | of plain | "
           "right of guessed |%s\n|---|---|---|---|---|---|---|---|---|%s\n",
           draft ? " of the draft, auto | always |" : "", draft ? "---|---|" : "");
    for (i = 0; i < (int)(sizeof works / sizeof *works) && !failed; i++) {
        double speed[MODES], ratio[MODES][RUNS];
        if (!strstr(works[i].name, only)) continue;
        for (k = 0; k < runs; k++)
            for (m = 0; m < MODES; m++) failed |= one(s, &works[i], m, k, &r[m]);
        for (m = 0; m < MODES; m++)
            for (k = 0; k < runs; k++) ratio[m][k] = r[m].speed[k] / r[0].speed[k];
        for (m = 0; m < MODES; m++) speed[m] = median(r[m].speed, runs);
        printf("| %s | %d | %.1f |", works[i].name, r[0].info.n_generated, speed[0]);
        for (m = 1; m < MODES; m++)
            printf(" %.1f | %.2f | %d of %d |", speed[m], median(ratio[m], runs), r[m].info.n_right,
                   r[m].info.n_guessed);
        for (m = 1; draft && m < MODES; m++)
            printf(" %d of %d |", r[m].info.n_drafted_right, r[m].info.n_drafted);
        printf("\n");
        for (m = 1; m < MODES; m++)
            if (r[m].hash != r[0].hash) failed = printf("%s is another text than without\n", modes[m]);
        fflush(stdout);
    }
    hybrid_session_destroy(s);
    hybrid_context_destroy(d.draft);
    hybrid_model_destroy(small);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return failed != 0;
}
