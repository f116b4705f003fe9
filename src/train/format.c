/* train/format: the number format of a training: to what the operands of its products are rounded, and by what the loss
 * is multiplied, so that small gradients are numbers of fp16 as well (Micikevicius et al. 2018, "Mixed precision
 * training").
 *
 *     bf16   8 bits of a float's 24, and its range
 *     fp16   11 bits, 6e-8 to 65504: gradients are those of the loss times `scale`, a power of two, which the optimizer
 *            divides by. Where one of them is infinite or NaN the step is skipped and the scale halved; after
 *            HYB_FORMAT_GOOD steps without that it is doubled
 *
 * Weights, gradients, sums, norms, probabilities and the optimizer are fp32 in every format. */
#ifndef HYB_TRAIN_FORMAT_C
#define HYB_TRAIN_FORMAT_C
#include "../api/trainer.h"
#include "../core/base.c"

enum { HYB_FORMAT_GOOD = 2000, HYB_FORMAT_SCALE = 65536 };

typedef struct hyb_format {
    hybrid_type type;
    double scale; /* of the loss; 1: not of fp16 */
    int64_t good; /* steps since the scale was changed */
    int64_t n_skipped, n_changes;
    uint64_t bytes; /* that the changes have moved */
} hyb_format;

static const char *hyb_format_name(hybrid_type type)
{
    return type == HYBRID_TYPE_BF16 ? "bf16" : type == HYBRID_TYPE_F16 ? "fp16" : "fp32";
}

static bool hyb_format_is(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_BF16 || type == HYBRID_TYPE_F16;
}

/* own: somebody else's model, whose products are its own. */
static hybrid_result hyb_format_check(hybrid_type type, bool own, const char *function, hybrid_error *error)
{
    if (!hyb_format_is(type))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "%s: products are trained in HYBRID_TYPE_F32, _BF16 or _F16, not in the type of number %d",
                        function, (int)type);
    if (own && type != HYBRID_TYPE_F32)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "%s: the products of a model of your own are computed by its own functions, so their format "
                        "cannot be set here",
                        function);
    return HYBRID_OK;
}

/* A format is taken up. */
static void hyb_format_take(hyb_format *f, hybrid_type type)
{
    f->type = type;
    f->scale = type == HYBRID_TYPE_F16 ? HYB_FORMAT_SCALE : 1;
    f->good = 0;
}

/* All gradients of a step were finite. */
static void hyb_format_step(hyb_format *f)
{
    if (f->type != HYBRID_TYPE_F16 || ++f->good < HYB_FORMAT_GOOD) return;
    f->scale *= 2;
    f->good = 0;
}

/* A gradient was not. False: a smaller scale cannot help. */
static bool hyb_format_skip(hyb_format *f)
{
    if (f->type != HYBRID_TYPE_F16 || f->scale <= 1) return false;
    f->scale /= 2;
    f->good = 0;
    f->n_skipped++;
    return true;
}

/* As a checkpoint holds it. */
enum { HYB_FORMAT_NUMBERS = 6 };
static void hyb_format_save(const hyb_format *f, double numbers[HYB_FORMAT_NUMBERS])
{
    numbers[0] = (double)(int)f->type;
    numbers[1] = f->scale;
    numbers[2] = (double)f->good;
    numbers[3] = (double)f->n_skipped;
    numbers[4] = (double)f->n_changes;
    numbers[5] = (double)f->bytes;
}
/* False: no trainer has written these. */
static bool hyb_format_load(hyb_format *f, const double numbers[HYB_FORMAT_NUMBERS])
{
    int i;
    for (i = 0; i < HYB_FORMAT_NUMBERS; i++)
        if (!(numbers[i] >= 0 && numbers[i] <= 9007199254740992.0)) return false;
    f->type = (hybrid_type)(int)HYB_MIN(numbers[0], 255.0);
    f->scale = numbers[1];
    f->good = (int64_t)numbers[2];
    f->n_skipped = (int64_t)numbers[3];
    f->n_changes = (int64_t)numbers[4];
    f->bytes = (uint64_t)numbers[5];
    return hyb_format_is(f->type) && f->scale >= 1 && (f->scale == 1 || f->type == HYBRID_TYPE_F16);
}
#endif
