/* predict_any: a predictor on a model that hybrid has never seen: a small convolutional net that tells waves apart.
 *
 *     cc -O2 predict_any.c -o predict_any -lm            (hybrid.h beside it)
 *     ./predict_any
 *
 * The net is the program's own, over one array of weights, as in own_model.c; hybrid_trainable hands it to the trainer,
 * and hybrid_predictor_create is all that prediction needs. What it bought is said in the end, also when that is
 * nothing: try --predict off, A, A2, B and C, and other seeds.
 *
 *     wave of 48 samples -> 8 filters of 7, relu -> their means -> a matrix of 4 x 8 -> softmax, cross-entropy
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "predict_any: a predictor on a model that hybrid knows nothing of\n"
                            "\n"
                            "usage: predict_any [options]\n"
                            "\n"
                            "  -n, --steps N         true steps (default 1500)\n"
                            "      --predict MODE    off, auto (default), A, A2, B or C\n"
                            "      --rate X          learning rate (default 0.003)\n"
                            "  -s, --seed N          for other weights and other waves (default 1)\n";

enum { WAVE = 48, FILTERS = 8, WIDE = 7, PLACES = WAVE - WIDE + 1, KINDS = 4, BATCH = 32, LOOKED = 1000 };
enum { W1 = 0, B1 = W1 + FILTERS * WIDE, W2 = B1 + FILTERS, B2 = W2 + KINDS * FILTERS, WEIGHTS = B2 + KINDS };

typedef struct waves { /* a batch */
    int n, kind[LOOKED];
    float samples[LOOKED][WAVE];
} waves;

typedef struct net {
    float weights[WEIGHTS];
    float mean[FILTERS], p[KINDS]; /* of one wave */
} net;

static float uniform(uint32_t *state) /* 0 .. 1 */
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (float)(*state >> 8) / 16777216.0f;
}

/* A sine, a square, a saw, or noise alone. */
static void draw_waves(waves *w, int n, uint32_t *random)
{
    int i, k;
    w->n = n;
    for (i = 0; i < n; i++) {
        const float speed = 0.06f + uniform(random) * 0.08f, loud = 0.6f + uniform(random);
        float at = uniform(random);
        w->kind[i] = (int)(uniform(random) * KINDS) % KINDS;
        for (k = 0; k < WAVE; k++, at += speed) {
            const float turn = at - floorf(at), noise = uniform(random) - 0.5f;
            const float shapes[KINDS] = { sinf(6.2831853f * turn), turn < 0.5f ? 1.0f : -1.0f, 2 * turn - 1,
                                          2 * noise };
            w->samples[i][k] = loud * shapes[w->kind[i]] + noise;
        }
    }
}

static float filtered(const net *n, int f, const float *x)
{
    float sum = n->weights[B1 + f];
    int k;
    for (k = 0; k < WIDE; k++) sum += n->weights[W1 + f * WIDE + k] * x[k];
    return sum;
}

static void forward(net *n, const float *x)
{
    float most = -1e30f, sum = 0;
    int c, f, i;
    for (f = 0; f < FILTERS; f++) {
        n->mean[f] = 0;
        for (i = 0; i < PLACES; i++) n->mean[f] += fmaxf(filtered(n, f, x + i), 0) / PLACES;
    }
    for (c = 0; c < KINDS; c++) {
        n->p[c] = n->weights[B2 + c];
        for (f = 0; f < FILTERS; f++) n->p[c] += n->weights[W2 + c * FILTERS + f] * n->mean[f];
        most = fmaxf(most, n->p[c]);
    }
    for (c = 0; c < KINDS; c++) sum += n->p[c] = expf(n->p[c] - most);
    for (c = 0; c < KINDS; c++) n->p[c] /= sum;
}

/* After forward: adds factor times the gradient of the wave's loss to g. */
static void backward(const net *n, const float *x, int kind, float factor, float *g)
{
    int c, f, i, k;
    for (f = 0; f < FILTERS; f++) {
        float d = 0;
        for (c = 0; c < KINDS; c++) {
            const float off = factor * (n->p[c] - (c == kind ? 1.0f : 0.0f));
            g[W2 + c * FILTERS + f] += off * n->mean[f];
            d += off * n->weights[W2 + c * FILTERS + f] / PLACES;
            if (!f) g[B2 + c] += off;
        }
        for (i = 0; i < PLACES; i++) {
            if (!(filtered(n, f, x + i) > 0)) continue;
            g[B1 + f] += d;
            for (k = 0; k < WIDE; k++) g[W1 + f * WIDE + k] += d * x[i + k];
        }
    }
}

/* What hybrid calls. */
static int64_t count(void *user, const void *batch)
{
    (void)user;
    return ((const waves *)batch)->n;
}

static bool gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    net *n = (net *)user;
    const waves *w = (const waves *)batch;
    int i;
    *loss = 0;
    for (i = 0; i < w->n; i++) {
        forward(n, w->samples[i]);
        *loss -= log((double)fmaxf(n->p[w->kind[i]], 1e-30f));
        if (grads) backward(n, w->samples[i], w->kind[i], (float)factor, grads);
    }
    return true;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* Waves are drawn by one random number: where the run is in its data. */
static uint32_t random_number = 1;
static void mark(void *user, void *position) { memcpy(position, user, sizeof random_number); }
static void go_back(void *user, const void *position) { memcpy(user, position, sizeof random_number); }

static bool train(net *n, hybrid_trainer *t, hybrid_predictor *p, int64_t n_steps, waves *w, hybrid_error *e)
{
    static const char *const phases[] = { "warm-up", "full", "predict", "correct" };
    hybrid_train_batch batch;
    hybrid_train_metrics m;
    uint32_t others = 4711;
    int i, right = 0;
    memset(&batch, 0, sizeof batch);
    batch.own = w;
    while (hybrid_trainer_steps(t) < n_steps) {
        draw_waves(w, BATCH, &random_number);
        if (hybrid_trainer_step(t, &batch, &m, e)) return false;
        if (m.step % 100 == 0)
            printf("step %d of %d  loss %.4f  %s\n", (int)m.step, (int)n_steps, m.loss,
                   p ? phases[m.predict.phase] : "");
    }
    draw_waves(w, LOOKED, &others);
    for (i = 0; i < LOOKED; i++) {
        int c, best = 0;
        forward(n, w->samples[i]);
        for (c = 1; c < KINDS; c++) best = n->p[c] > n->p[best] ? c : best;
        right += best == w->kind[i];
    }
    printf("%.1f %% of %d new waves are told rightly\n", 100.0 * right / LOOKED, (int)LOOKED);
    if (p) printf("%s\n", hybrid_predictor_verdict(p));
    return true;
}

/* True: the option was known, and v is its value. */
static bool option(hybrid_trainer_desc *td, hybrid_predict_desc *pd, const char *a, const char *v)
{
    static const char *const modes[] = { "auto", "off", "A", "A2", "B", "C" };
    int i;
    if (!strcmp(a, "-n") || !strcmp(a, "--steps")) return (td->n_steps = atol(v)) > 0;
    if (!strcmp(a, "--rate")) return (td->rate = (float)atof(v)) > 0;
    if (!strcmp(a, "-s") || !strcmp(a, "--seed")) return (random_number = (uint32_t)strtoul(v, NULL, 10)) > 0;
    for (i = 0; i < 6 && !strcmp(a, "--predict"); i++) {
        pd->mode = (hybrid_predict_mode)i;
        if (!strcmp(v, modes[i])) return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    static const hybrid_trainable_param params[] = { { "filters", W1, FILTERS, WIDE, false },
                                                     { "filters.bias", B1, 1, FILTERS, false },
                                                     { "out", W2, KINDS, FILTERS, true },
                                                     { "out.bias", B2, 1, KINDS, false } };
    static net n;
    static waves w;
    hybrid_trainable own;
    hybrid_trainer_desc td;
    hybrid_predict_desc pd;
    hybrid_trainer *t = NULL;
    hybrid_predictor *p = NULL;
    hybrid_error e;
    bool good;
    int i;
    memset(&own, 0, sizeof own);
    memset(&td, 0, sizeof td);
    memset(&pd, 0, sizeof pd);
    td.n_steps = 1500;
    td.rate = 3e-3f;
    for (i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(&td, &pd, argv[i], argv[i + 1])) {
            const bool help = !strcmp(argv[i], "-h") || !strcmp(argv[i], "--help");
            fputs(usage, help ? stdout : stderr);
            return !help;
        }
    random_number = random_number * 2654435761u | 1;
    for (i = 0; i < WEIGHTS; i++) n.weights[i] = (uniform(&random_number) - 0.5f) * 0.8f;
    own.name = "waves";
    own.params = params;
    own.n_params = sizeof params / sizeof *params;
    own.weights = n.weights;
    own.n_weights = WEIGHTS;
    own.user = &n;
    own.count = count;
    own.gradients = gradients;
    td.own = &own;
    td.schedule = HYBRID_SCHEDULE_COSINE;
    td.rate_end = td.rate / 20;
    good = !hybrid_trainer_create(&td, &t, &e);
    pd.trainer = t;
    pd.mark = mark;
    pd.go_back = go_back;
    pd.user = &random_number;
    if (good && pd.mode != HYBRID_PREDICT_OFF) good = !hybrid_predictor_create(&pd, &p, &e);
    good = good && train(&n, t, p, td.n_steps, &w, &e);
    if (!good) fprintf(stderr, "predict_any: %s\n", e.message);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    return !good;
}
