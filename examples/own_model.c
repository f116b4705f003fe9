/* own_model: hybrid trains a model that it knows nothing of: a small convolutional net that reads digits.
 *
 *     cc -O2 own_model.c -o own_model -lm                (hybrid.h beside it)
 *     ./own_model
 *
 * The net is written out below, forward and backward, over one array of weights; hybrid_trainable hands it to the
 * trainer, which has the optimizers, the schedule, accumulation, the average of the weights, metrics and checkpoints.
 * The digits are drawn by the program: shifted, turned, stretched, noisy. After a minute on one core at most, more than
 * 97 of 100 digits that it has never seen are read rightly. own_model.ckpt is what it goes on from when it is started
 * again; Ctrl-C saves and ends.
 *
 *     image 16 x 16 -> 8 filters of 3 x 3, relu, maxima of 2 x 2 -> 7 x 7 x 8
 *                   -> 16 filters of 3 x 3, relu                 -> 5 x 5 x 16
 *                   -> a matrix of 10 x 400                      -> 10 logits, softmax, cross-entropy
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "own_model: trains a small convolutional net on digits that it draws itself\n"
                            "\n"
                            "usage: own_model [options]\n"
                            "\n"
                            "  -n, --steps N         steps in all (default 1000)\n"
                            "  -b, --batch N         digits of a batch; a step has two batches (default 32)\n"
                            "      --optimizer NAME  adamw (default), sgd or muon\n"
                            "      --rate X          learning rate (default: 0.002, of sgd 0.05)\n"
                            "  -o, --out FILE        the checkpoint (default own_model.ckpt)\n"
                            "      --fresh           begin anew, though there is a checkpoint\n"
                            "  -s, --seed N          for other weights and other digits (default 1)\n";

/* ---- digits ------------------------------------------------------------------------------------------------------ */

enum { SIDE = 16, PIXELS = SIDE * SIDE, MOST = 1024 };

typedef struct digits { /* a batch */
    int n;
    float pixels[MOST][PIXELS];
    int label[MOST];
} digits;

static float uniform(uint32_t *state) /* 0 .. 1 */
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (float)(*state >> 8) / 16777216.0f;
}

/* The ink of a digit at a place of its 5 x 7 cells, between them a mean of the four around. */
static float ink(int digit, float x, float y)
{
    static const char *const shapes[10] = {
        " ### #   ##   ##   ##   ##   # ### ", "  #   ##    #    #    #    #   ### ",
        " ### #   #    #   #   #   #   #####", "#####   #   #     #     ##   # ### ",
        "   #   ##  # # #  # #####   #    # ", "######    ####     #    ##   # ### ",
        "  ##  #   #    #### #   ##   # ### ", "#####    #   #   #   #    #    #   ",
        " ### #   ##   # ### #   ##   # ### ", " ### #   ##   # ####    #   #  ##  ",
    };
    const int left = (int)floorf(x), top = (int)floorf(y);
    float sum = 0;
    int i;
    for (i = 0; i < 4; i++) {
        const int cx = left + i % 2, cy = top + i / 2;
        const float wx = 1 - fabsf(x - (float)cx), wy = 1 - fabsf(y - (float)cy);
        if (cx >= 0 && cx < 5 && cy >= 0 && cy < 7 && shapes[digit][cy * 5 + cx] == '#') sum += wx * wy;
    }
    return sum;
}

static void draw_digit(uint32_t *random, float *pixels, int *label)
{
    const int digit = (int)(uniform(random) * 10) % 10;
    const float angle = (uniform(random) - 0.5f) * 0.8f, slant = (uniform(random) - 0.5f) * 0.4f;
    const float width = 0.35f + uniform(random) * 0.25f, height = 0.45f + uniform(random) * 0.2f; /* cells a pixel */
    const float dx = (uniform(random) - 0.5f) * 3, dy = (uniform(random) - 0.5f) * 3;
    const float dark = 0.6f + uniform(random) * 0.4f;
    int i;
    *label = digit;
    for (i = 0; i < PIXELS; i++) {
        const float x = (float)(i % SIDE) - SIDE / 2 - dx, y = (float)(i / SIDE) - SIDE / 2 - dy;
        const float u = x * cosf(angle) + y * sinf(angle), v = y * cosf(angle) - x * sinf(angle);
        pixels[i] = dark * ink(digit, 2 + (u + slant * v) * width, 3 + v * height) + (uniform(random) - 0.5f) * 0.8f;
    }
}

static void draw_digits(digits *d, int n, uint32_t *random)
{
    d->n = n;
    while (n-- > 0) draw_digit(random, d->pixels[n], &d->label[n]);
}

/* ---- the net ----------------------------------------------------------------------------------------------------- */

enum {
    C1 = 8,
    S1 = 14, /* after the first filters, before the maxima */
    P1 = 7,  /* after them */
    C2 = 16,
    S2 = 5,
    FLAT = C2 * S2 * S2,
    OUT = 10,
    W1 = 0, /* where the parameters are in the weights */
    B1 = W1 + C1 * 9,
    W2 = B1 + C1,
    B2 = W2 + C2 * C1 * 9,
    W3 = B2 + C2,
    B3 = W3 + OUT * FLAT,
    WEIGHTS = B3 + OUT
};

static const hybrid_trainable_param params[] = {
    { "conv1.weight", W1, C1, 9, false },      { "conv1.bias", B1, 1, C1, false },
    { "conv2.weight", W2, C2, C1 * 9, false }, { "conv2.bias", B2, 1, C2, false },
    { "out.weight", W3, OUT, FLAT, true },     { "out.bias", B3, 1, OUT, false },
};

typedef struct net {
    float weights[WEIGHTS];
    /* of one digit */
    float a1[C1][S1][S1], p1[C1][P1][P1], a2[C2][S2][S2], p[OUT];
    float dp1[C1][P1][P1], da2[C2][S2][S2];
    int right; /* digits that were read rightly, counted by gradients */
} net;

/* out (S, S) = relu(b + the sum over the filter's channels of in (side, side) and 3 x 3 weights) */
static void convolve(const float *in, int channels, int side, const float *w, float b, float *out)
{
    const int size = side - 2;
    int c, i, j, k;
    for (i = 0; i < size * size; i++) out[i] = b;
    for (c = 0; c < channels; c++)
        for (k = 0; k < 9; k++)
            for (i = 0; i < size; i++)
                for (j = 0; j < size; j++)
                    out[i * size + j] += w[c * 9 + k] * in[(c * side + i + k / 3) * side + j + k % 3];
    for (i = 0; i < size * size; i++) out[i] = out[i] > 0 ? out[i] : 0;
}

/* Of it, with d (S, S) the gradient of what came out: dw += ..., *db += ..., din (NULL: not wanted) += ... */
static void convolve_back(const float *in, int channels, int side, const float *w, const float *out, const float *d,
                          float *dw, float *db, float *din)
{
    const int size = side - 2;
    int c, i, j, k;
    for (i = 0; i < size * size; i++)
        if (out[i] > 0) *db += d[i];
    for (c = 0; c < channels; c++)
        for (k = 0; k < 9; k++) {
            float sum = 0;
            for (i = 0; i < size; i++)
                for (j = 0; j < size; j++) {
                    const int at = (c * side + i + k / 3) * side + j + k % 3;
                    if (!(out[i * size + j] > 0)) continue;
                    sum += d[i * size + j] * in[at];
                    if (din) din[at] += d[i * size + j] * w[c * 9 + k];
                }
            dw[c * 9 + k] += sum;
        }
}

static void forward(net *n, const float *pixels)
{
    const float *w = n->weights;
    float most = -1e30f, sum = 0;
    int c, i, j;
    for (c = 0; c < C1; c++) convolve(pixels, 1, SIDE, w + W1 + c * 9, w[B1 + c], &n->a1[c][0][0]);
    for (c = 0; c < C1; c++)
        for (i = 0; i < P1; i++)
            for (j = 0; j < P1; j++) {
                const float *top = &n->a1[c][2 * i][2 * j], *below = &n->a1[c][2 * i + 1][2 * j];
                n->p1[c][i][j] = fmaxf(fmaxf(top[0], top[1]), fmaxf(below[0], below[1]));
            }
    for (c = 0; c < C2; c++) convolve(&n->p1[0][0][0], C1, P1, w + W2 + c * C1 * 9, w[B2 + c], &n->a2[c][0][0]);
    for (c = 0; c < OUT; c++) {
        n->p[c] = w[B3 + c];
        for (i = 0; i < FLAT; i++) n->p[c] += w[W3 + c * FLAT + i] * (&n->a2[0][0][0])[i];
        most = fmaxf(most, n->p[c]);
    }
    for (c = 0; c < OUT; c++) sum += n->p[c] = expf(n->p[c] - most);
    for (c = 0; c < OUT; c++) n->p[c] /= sum;
}

/* After forward: adds factor times the gradient of the digit's loss to g. */
static void backward(net *n, const float *pixels, int label, float factor, float *g)
{
    const float *w = n->weights;
    int c, i, j;
    memset(n->dp1, 0, sizeof n->dp1);
    memset(n->da2, 0, sizeof n->da2);
    for (c = 0; c < OUT; c++) {
        const float d = factor * (n->p[c] - (c == label ? 1.0f : 0.0f));
        g[B3 + c] += d;
        for (i = 0; i < FLAT; i++) {
            g[W3 + c * FLAT + i] += d * (&n->a2[0][0][0])[i];
            (&n->da2[0][0][0])[i] += d * w[W3 + c * FLAT + i];
        }
    }
    for (c = 0; c < C2; c++)
        convolve_back(&n->p1[0][0][0], C1, P1, w + W2 + c * C1 * 9, &n->a2[c][0][0], &n->da2[c][0][0],
                      g + W2 + c * C1 * 9, g + B2 + c, &n->dp1[0][0][0]);
    for (c = 0; c < C1; c++) {
        float d1[S1][S1];
        memset(d1, 0, sizeof d1);
        for (i = 0; i < P1; i++) /* to the largest of each four */
            for (j = 0; j < P1; j++) {
                int k = 0;
                while (k < 3 && n->a1[c][2 * i + k / 2][2 * j + k % 2] < n->p1[c][i][j]) k++;
                d1[2 * i + k / 2][2 * j + k % 2] = n->dp1[c][i][j];
            }
        convolve_back(pixels, 1, SIDE, w + W1 + c * 9, &n->a1[c][0][0], &d1[0][0], g + W1 + c * 9, g + B1 + c, NULL);
    }
}

/* What hybrid calls: the digits of a batch, the sum of their losses, and, where grads are wanted, their gradients. */
static int64_t count(void *user, const void *batch)
{
    (void)user;
    return ((const digits *)batch)->n;
}

static bool gradients(void *user, const void *batch, double factor, float *grads, double *loss)
{
    net *n = (net *)user;
    const digits *d = (const digits *)batch;
    int i, c;
    *loss = 0;
    for (i = 0; i < d->n; i++) {
        int best = 0;
        forward(n, d->pixels[i]);
        for (c = 1; c < OUT; c++) best = n->p[c] > n->p[best] ? c : best;
        n->right += best == d->label[i];
        *loss -= log((double)fmaxf(n->p[d->label[i]], 1e-30f));
        if (grads) backward(n, d->pixels[i], d->label[i], (float)factor, grads);
    }
    return true;
}

/* Uniform in the width that keeps what goes through a layer about as large as it was (He et al. 2015). */
static void fill(net *n, uint32_t *random)
{
    size_t i, k;
    memset(n->weights, 0, sizeof n->weights);
    for (i = 0; i < sizeof params / sizeof *params; i++) {
        const hybrid_trainable_param *p = &params[i];
        if (p->rows < 2) continue;
        for (k = 0; k < (size_t)(p->rows * p->cols); k++)
            n->weights[p->at + k] = (uniform(random) * 2 - 1) * sqrtf(6.0f / (float)p->cols);
    }
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

typedef struct options {
    hybrid_trainer_desc train;
    const char *out;
    int batch;
    bool fresh;
    uint32_t seed;
} options;

static volatile sig_atomic_t stop_wanted;
static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "own_model: %s%s%s\n", text, what[0] ? ": " : "", what);
    return 1;
}

/* True: the option was known, and v is its value. */
static bool option(options *o, const char *a, const char *v)
{
    if (!strcmp(a, "-n") || !strcmp(a, "--steps")) return (o->train.n_steps = atol(v)) > 0;
    if (!strcmp(a, "-b") || !strcmp(a, "--batch")) return (o->batch = atoi(v)) > 0 && o->batch <= MOST;
    if (!strcmp(a, "--rate")) return (o->train.rate = (float)atof(v)) > 0;
    if (!strcmp(a, "-s") || !strcmp(a, "--seed")) return (o->seed = (uint32_t)strtoul(v, NULL, 10)) > 0;
    if (!strcmp(a, "-o") || !strcmp(a, "--out")) return (o->out = v) != NULL;
    if (strcmp(a, "--optimizer") != 0) return false;
    if (!strcmp(v, "sgd")) {
        o->train.optimizer = HYBRID_OPTIMIZER_SGD;
        o->train.momentum = 0.9f;
        o->train.nesterov = true;
    } else if (!strcmp(v, "muon"))
        o->train.optimizer = HYBRID_OPTIMIZER_MUON;
    return o->train.optimizer || !strcmp(v, "adamw");
}

static int parse(int argc, char **argv, options *o)
{
    int i;
    memset(o, 0, sizeof *o);
    o->out = "own_model.ckpt";
    o->batch = 32;
    o->seed = 1;
    o->train.n_steps = 1000;
    for (i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (!strcmp(argv[i], "--fresh"))
            o->fresh = true;
        else if (i + 1 == argc || !option(o, argv[i], argv[i + 1]))
            return fail("unknown option or value (see --help)", argv[i]);
        else
            i++;
    }
    if (o->train.rate <= 0) o->train.rate = o->train.optimizer == HYBRID_OPTIMIZER_SGD ? 0.05f : 2e-3f;
    o->train.n_batches = 2;
    o->train.schedule = HYBRID_SCHEDULE_COSINE;
    o->train.rate_end = o->train.rate / 20;
    o->train.n_warmup = o->train.n_steps / 20;
    o->train.clip = 1;
    o->train.decay = 0.01f;
    o->train.ema = 0.99f;
    return 0;
}

/* The part of 2000 digits that are drawn from other random numbers that is read rightly, in percent. */
static double read_rightly(hybrid_trainer *t, net *n, digits *d, double *loss, hybrid_error *e)
{
    hybrid_train_batch batch;
    uint32_t random = 0x9E3779B9u; /* another place of a sequence of 2^32 - 1 */
    double sum = 0;
    int i;
    memset(&batch, 0, sizeof batch);
    batch.own = d;
    n->right = 0;
    for (i = 0; i < 4; i++) {
        draw_digits(d, 500, &random);
        if (hybrid_trainer_evaluate(t, &batch, loss, e)) return -1;
        sum += *loss / 4;
    }
    *loss = sum;
    return n->right / 20.0;
}

/* The random number that draws the next digits is what a checkpoint keeps for us. */
static bool save(hybrid_trainer *t, const char *path, const uint32_t *random, hybrid_error *e)
{
    return !hybrid_trainer_set_user(t, random, sizeof *random, e) && !hybrid_trainer_save(t, path, e);
}

static bool train(hybrid_trainer *t, const options *o, digits *d, uint32_t *random, hybrid_error *e)
{
    hybrid_train_batch batches[2];
    hybrid_train_metrics m;
    memset(batches, 0, sizeof batches);
    batches[0].own = &d[0];
    batches[1].own = &d[1];
    while (hybrid_trainer_steps(t) < o->train.n_steps && !stop_wanted) {
        draw_digits(&d[0], o->batch, random);
        draw_digits(&d[1], o->batch, random);
        if (hybrid_trainer_step(t, batches, &m, e)) return false;
        if (m.step % 50 == 0 || m.step == o->train.n_steps) {
            printf("\rstep %d of %d  loss %.4f  gradients %.2f  rate %.5f  noise %.0f  %.0f digits/s  %.0f s left   ",
                   (int)m.step, (int)o->train.n_steps, m.loss, m.grad_norm, m.rate, m.noise_scale, m.tokens_per_second,
                   m.seconds_left);
            fflush(stdout);
        }
        if (m.step % 500 == 0 && !save(t, o->out, random, e)) return false;
    }
    printf("\n");
    return save(t, o->out, random, e);
}

static bool run(const options *o, net *n, digits *d, hybrid_trainer *t, uint32_t *random, hybrid_error *e)
{
    double loss = 0, percent;
    FILE *f = o->fresh ? NULL : fopen(o->out, "rb");
    if (f) {
        const void *kept;
        size_t size;
        fclose(f);
        if (hybrid_trainer_load(t, o->out, e)) return false;
        kept = hybrid_trainer_user(t, &size);
        if (kept && size == sizeof *random) memcpy(random, kept, size);
        printf("going on from step %d of %s\n", (int)hybrid_trainer_steps(t), o->out);
    }
    if (!train(t, o, d, random, e)) return false;
    if ((percent = read_rightly(t, n, d, &loss, e)) < 0) return false;
    printf("%.2f %% of 2000 new digits are read rightly (loss %.4f); ", percent, loss);
    if (hybrid_trainer_swap_ema(t, e) || (percent = read_rightly(t, n, d, &loss, e)) < 0) return false;
    printf("by the average of the weights %.2f %% (loss %.4f)\n", percent, loss);
    return !hybrid_trainer_swap_ema(t, e);
}

int main(int argc, char **argv)
{
    options o;
    hybrid_trainable own;
    hybrid_trainer *t = NULL;
    hybrid_error e;
    uint32_t random;
    bool good;
    net *n = (net *)calloc(1, sizeof *n);
    digits *d = (digits *)calloc(2, sizeof *d);
    if (parse(argc, argv, &o)) return 1;
    if (!n || !d) return fail("out of memory", "");
    signal(SIGINT, on_signal);
    random = o.seed * 2654435761u | 1;
    fill(n, &random);
    memset(&own, 0, sizeof own);
    own.name = "digits";
    own.params = params;
    own.n_params = sizeof params / sizeof *params;
    own.weights = n->weights;
    own.n_weights = WEIGHTS;
    own.user = n;
    own.count = count;
    own.gradients = gradients;
    o.train.own = &own;
    good = !hybrid_trainer_create(&o.train, &t, &e) && run(&o, n, d, t, &random, &e);
    if (!good) fail(e.message, "");
    hybrid_trainer_destroy(t);
    free(d);
    free(n);
    return !good;
}
