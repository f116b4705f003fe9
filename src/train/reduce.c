/* train/reduce: sums over the ranks of a training, by the hook of the descriptor. api/trainer.h says which calls a step
 * makes, and in which order. */
#ifndef HYB_TRAIN_REDUCE_C
#define HYB_TRAIN_REDUCE_C
#include "../api/trainer.h"
#include "../core/memory.c"

enum { HYB_REDUCE_PIECES = 5 }; /* floats that hold a double */

/* A double as floats of 12 bits each: sums of as many as 4096 of them are exact, so that a count is one. */
static void hyb_reduce_split(double x, float pieces[HYB_REDUCE_PIECES])
{
    int i;
    for (i = 0; i < HYB_REDUCE_PIECES; i++) {
        uint32_t bits;
        pieces[i] = (float)x;
        if (!(fabs(x) < (double)HUGE_VALF)) { /* infinite, or not a number: that, and zeros */
            x = 0;
            continue;
        }
        memcpy(&bits, &pieces[i], sizeof bits);
        bits &= 0xFFFFF000u;
        memcpy(&pieces[i], &bits, sizeof bits);
        x -= (double)pieces[i];
    }
}

static double hyb_reduce_join(const float pieces[HYB_REDUCE_PIECES])
{
    double x = 0;
    int i;
    for (i = HYB_REDUCE_PIECES - 1; i >= 0; i--) x += (double)pieces[i];
    return x;
}

static hybrid_result hyb_reduce_fail(const char *hook, hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_IO,
                    "the step was not done: %s, which adds up what all ranks found, has failed (has one of them died?)",
                    hook);
}

/* Begins to add up values of all ranks. */
static hybrid_result hyb_reduce(const hybrid_trainer_desc *d, float *data, int64_t n, void *stream, hybrid_error *error)
{
    bool ok;
    if (!d->all_reduce || !n) return HYBRID_OK;
    ok = d->all_reduce(d->all_reduce_user, data, (size_t)n, stream);
    hyb_fp_plain();
    return ok ? HYBRID_OK : hyb_reduce_fail("all_reduce", error);
}

/* Waits for all sums. */
static hybrid_result hyb_reduce_end(const hybrid_trainer_desc *d, hybrid_error *error)
{
    bool ok;
    if (!d->all_reduce || !d->all_reduce_end) return HYBRID_OK;
    ok = d->all_reduce_end(d->all_reduce_user);
    hyb_fp_plain();
    return ok ? HYBRID_OK : hyb_reduce_fail("all_reduce_end", error);
}

/* Two numbers and a flag, as they are sent. */
static void hyb_reduce_numbers(float numbers[HYBRID_REDUCE_NUMBERS], double a, double b, bool flag)
{
    hyb_reduce_split(a, numbers);
    hyb_reduce_split(b, numbers + HYB_REDUCE_PIECES);
    numbers[2 * HYB_REDUCE_PIECES] = flag ? 1.0f : 0.0f;
    numbers[2 * HYB_REDUCE_PIECES + 1] = 1; /* counts the ranks */
}
#endif
