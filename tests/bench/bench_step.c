/* bench_step: how well the slices of hybrid_session_step keep to their budget, and what they cost.
 *
 *     make bench-step             both real models; ARGS='model.gguf --calls 10000 --threads 2'
 *
 * A conversation of long messages and answers, over and over: once by hybrid_session_next, then in slices of 1, 2 and 4
 * ms, then by next again. A line for each budget: the calls that had work for all of their budget, in milliseconds, and
 * tokens a second beside those of next (the mean of before and after). */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct run {
    double *ms, total;
    int n, most, tokens;
} run;

static const char message[] =
    "The village lies in a valley between two rivers, and its people have lived there for longer than anybody can "
    "remember. They grow barley and apples, keep goats on the slopes, and trade cheese for salt with the towns by the "
    "sea. Every autumn they light a fire on the hill to call back those who went away. Tell me about one of them: who "
    "they are, why they left, what they found, and whether they came back when they saw the fire on the hill that "
    "night.";

/* One conversation: a message and an answer. budget 0: by next. */
static void talk(hybrid_session *s, unsigned budget_us, run *r)
{
    hybrid_session_info info;
    hybrid_piece piece;
    hybrid_session_reset(s);
    if (hybrid_session_say(s, message)) return;
    do {
        const double since = now_ms();
        double ms;
        if (!budget_us) {
            if (!hybrid_session_next(s)) break;
            r->total += now_ms() - since;
            continue;
        }
        if (hybrid_session_step(s, budget_us, &piece)) break;
        r->total += ms = now_ms() - since;
        if (!piece.size && !piece.stop && r->n < r->most) r->ms[r->n++] = ms; /* it ended for want of time */
    } while (!budget_us || !piece.stop);
    hybrid_session_describe(s, &info);
    r->tokens += info.n_prompt + info.n_generated;
}

static double speed(hybrid_session *s, int talks)
{
    run r = { NULL, 0, 0, 0, 0 };
    for (; talks > 0; talks--) talk(s, 0, &r);
    return r.tokens / r.total * 1e3;
}

int main(int argc, char **argv)
{
    static const unsigned budgets[] = { 1000, 2000, 4000 };
    hybrid_runtime_desc rd = { .n_threads = 2 };
    hybrid_session_desc d = { .max_tokens = 64, .sampler = { .temperature = 0.8f, .top_k = 40 } };
    hybrid_runtime *rt = NULL;
    hybrid_model *model = NULL;
    hybrid_session *s = NULL;
    hybrid_error err;
    run r = { NULL, 0, 0, 10000, 0 };
    int i;
    for (i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--calls")) r.most = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--threads")) rd.n_threads = atoi(argv[i + 1]);
    }
    if (argc < 2 || r.most < 1 || !(r.ms = malloc((size_t)r.most * sizeof *r.ms)))
        return fprintf(stderr, "usage: bench_step MODEL.gguf [--calls N] [--threads N]\n"), 2;
    if (hybrid_runtime_create(&rd, &rt, &err) ||
        hybrid_model_load(rt, &(hybrid_model_desc){ .path = argv[1] }, &model, &err) ||
        hybrid_session_create(model, &d, &s, &err))
        return fprintf(stderr, "bench_step: %s\n", err.message), 1;
    printf("%s, %d threads, %s, %d calls\n\n", argv[1], rd.n_threads, hybrid_runtime_isa(rt), r.most);
    printf("| budget, ms | median | 99 %% | worst | tokens/s | of uncut |\n|---|---|---|---|---|---|\n");
    speed(s, 1);
    for (i = 0; i < 3; i++) {
        double uncut = speed(s, 2), cut;
        r.n = r.tokens = 0;
        r.total = 0;
        while (r.n < r.most) talk(s, budgets[i], &r);
        cut = r.tokens / r.total * 1e3;
        uncut = (uncut + speed(s, 2)) / 2;
        qsort(r.ms, (size_t)r.n, sizeof *r.ms, ascending);
        printf("| %.0f | %.3f | %.3f | %.3f | %.1f | %.3f |\n", budgets[i] / 1e3, r.ms[r.n / 2],
               r.ms[(int)(0.99 * (r.n - 1))], r.ms[r.n - 1], cut, cut / uncut);
        fflush(stdout);
    }
    free(r.ms);
    hybrid_session_destroy(s);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return 0;
}
