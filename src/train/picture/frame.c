/* train/picture/frame: how a picture is written, and its axes.
 *
 * Numbers are printed without the C library's decimal point, which a locale may have changed. */
#ifndef HYB_TRAIN_PICTURE_FRAME_C
#define HYB_TRAIN_PICTURE_FRAME_C
#include "../curve.c"

enum {
    HYB_PICTURE_WIDTH = 800,
    HYB_PICTURE_HEIGHT = 440,
    HYB_PICTURE_LEFT = 68,
    HYB_PICTURE_RIGHT = 724,
    HYB_PICTURE_TOP = 66,
    HYB_PICTURE_BOTTOM = 384,
    HYB_PICTURE_STRIP = 56,    /* where the strip of phases begins, */
    HYB_PICTURE_RUG = 62,      /* and where it ends and the rug begins, which ends with the frame's TOP */
    HYB_PICTURE_COLUMNS = 328, /* two units wide: more steps than these share one */
    HYB_PICTURE_SIDE_LEFT = 868,
    HYB_PICTURE_SIDE_RIGHT = 1048,
    HYB_PICTURE_SIDE_MIDDLE = 222, /* where the upper of the two frames ends, */
    HYB_PICTURE_SIDE_LOWER = 280,  /* and where the other begins */
    HYB_PICTURE_PIECES = 12,       /* of the run, in the lower one */
    HYB_PICTURE_BINS = 10          /* of confidences, in the upper one */
};

typedef struct hyb_picture {
    const hybrid_curve *curve;
    hybrid_write_fn write;
    void *user;
    bool bad;               /* a write has failed */
    bool predicts;          /* there is a predictor */
    double x1;              /* steps at the right end; 0 is at the left one */
    double low, high, rate; /* loss at the bottom and the top; rate at the top, 0 is at the bottom */
} hyb_picture;

static void hyb_picture_put(hyb_picture *p, const char *text, size_t n)
{
    if (!p->bad && n) p->bad = !p->write(p->user, text, n);
    hyb_fp_plain();
}
static void hyb_picture_text(hyb_picture *p, const char *text) { hyb_picture_put(p, text, strlen(text)); }

/* A number with one decimal: a tenth of a unit is less than a screen shows. */
static void hyb_picture_number(hyb_picture *p, double v, const char *after)
{
    char text[40];
    hyb_picture_put(p, text, hyb_curve_fixed(v, 1, text));
    hyb_picture_text(p, after);
}

/* Text of the caller's. */
static void hyb_picture_escaped(hyb_picture *p, const char *text)
{
    const char *plain = text;
    for (; *text; text++) {
        const char *as = *text == '&'                                 ? "&amp;"
                         : *text == '<'                               ? "&lt;"
                         : *text == '>'                               ? "&gt;"
                         : (unsigned char)*text < 32 && *text != '\t' ? " "
                                                                      : NULL;
        if (!as) continue;
        hyb_picture_put(p, plain, (size_t)(text - plain));
        hyb_picture_text(p, as);
        plain = text + 1;
    }
    hyb_picture_put(p, plain, (size_t)(text - plain));
}

/* What can be drawn: a loss of 1e30 would leave no room for numbers on the axis. */
static bool hyb_picture_known(double v) { return v >= -1e9 && v <= 1e9; }

static double hyb_picture_x(const hyb_picture *p, double step)
{
    const double left = (double)HYB_PICTURE_LEFT;
    return left + ((double)HYB_PICTURE_RIGHT - left) * step / p->x1;
}
static double hyb_picture_y(double v, double low, double high)
{
    const double part = (v - low) / (high - low);
    const double bottom = (double)HYB_PICTURE_BOTTOM;
    return bottom - (bottom - (double)HYB_PICTURE_TOP) * HYB_MIN(HYB_MAX(part, 0), 1);
}

/* ---- axes -------------------------------------------------------------------------------------------------------- */

/* The distance of marks: 1, 2 or 5 times a power of ten, with at most n of them in a range. */
static double hyb_picture_step(double range, int n, int *mantissa, int *exponent)
{
    static const int good[3] = { 1, 2, 5 };
    double power = 1;
    int e = 0, i;
    for (; power * n > range && e > -30; e--) power /= 10;
    for (;; e++, power *= 10)
        for (i = 0; i < 3; i++)
            if (power * good[i] * n >= range || e > 30) {
                *mantissa = good[i];
                *exponent = e;
                return power * good[i];
            }
}

/* k * mantissa * 10^exponent */
static void hyb_picture_label(hyb_picture *p, long long k, int mantissa, int exponent)
{
    char text[48], *end;
    long long v = k * mantissa, scale = 1;
    int i;
    for (; v && v % 10 == 0; v /= 10) exponent++;
    if (!v)
        memcpy(text, "0", 2);
    else if (exponent < -3 || exponent > 9)
        snprintf(text, sizeof text, "%llde%d", v, exponent);
    else if (exponent >= 0) {
        for (i = 0; i < exponent; i++) scale *= 10;
        snprintf(text, sizeof text, "%lld", v * scale);
    } else {
        for (i = exponent; i < 0; i++) scale *= 10;
        end = text + snprintf(text, 24, "%s%lld", v < 0 ? "-" : "", (v < 0 ? -v : v) / scale);
        *end++ = '.';
        for (v = (v < 0 ? -v : v) % scale; scale > 1; v %= scale) *end++ = (char)('0' + v / (scale /= 10));
        *end = 0;
    }
    hyb_picture_text(p, text);
}

/* <line class="grid" .../>, from one side to the other. */
static void hyb_picture_grid(hyb_picture *p, double y)
{
    hyb_picture_text(p, "<line class=\"grid\" x1=\"");
    hyb_picture_number(p, HYB_PICTURE_LEFT, "\" x2=\"");
    hyb_picture_number(p, HYB_PICTURE_RIGHT, "\" y1=\"");
    hyb_picture_number(p, y, "\" y2=\"");
    hyb_picture_number(p, y, "\"/>\n");
}

static void hyb_picture_place(hyb_picture *p, double x, double y, const char *more)
{
    hyb_picture_text(p, "<text x=\"");
    hyb_picture_number(p, x, "\" y=\"");
    hyb_picture_number(p, y, "\"");
    hyb_picture_text(p, more);
    hyb_picture_text(p, ">");
}

/* The range of what is drawn, widened to whole marks. */
static void hyb_picture_range(hyb_picture *p)
{
    const hybrid_curve *c = p->curve;
    double low = HUGE_VAL, high = -HUGE_VAL, step;
    size_t i;
    int mantissa, exponent;
    p->rate = 0;
    p->x1 = (double)c->desc.n_steps;
    for (i = 0; i < c->n_points; i++) {
        const hybrid_curve_point *at = &c->points[i];
        const double v[2] = { at->loss, at->validation };
        int k;
        p->predicts = p->predicts || hyb_curve_predicts(&at->predict);
        for (k = 0; k < 2; k++) {
            if (!hyb_picture_known(v[k])) continue;
            low = HYB_MIN(low, v[k]);
            high = HYB_MAX(high, v[k]);
        }
        if (hyb_picture_known(at->rate)) p->rate = HYB_MAX(p->rate, at->rate);
        p->x1 = HYB_MAX(p->x1, (double)at->step);
    }
    if (p->x1 < 1) p->x1 = 1;
    if (!(low <= high)) low = high = 0;
    if (high - low < 1e-6 * HYB_MAX(fabs(high), 1e-3)) {
        low -= 0.5;
        high += 0.5;
    }
    step = hyb_picture_step(high - low, 6, &mantissa, &exponent);
    p->low = floor(low / step) * step;
    p->high = ceil(high / step) * step;
}

/* What an axis shows, upwards beside it; turn: degrees. */
static void hyb_picture_axis_title(hyb_picture *p, double x, const char *turn, const char *title)
{
    hyb_picture_text(p, "<text class=\"faint\" text-anchor=\"middle\" transform=\"translate(");
    hyb_picture_number(p, x, " ");
    hyb_picture_number(p, (HYB_PICTURE_TOP + HYB_PICTURE_BOTTOM) / 2, ") rotate(");
    hyb_picture_text(p, turn);
    hyb_picture_text(p, ")\">");
    hyb_picture_text(p, title);
    hyb_picture_text(p, "</text>\n");
}

static void hyb_picture_loss_axis(hyb_picture *p)
{
    int mantissa, exponent;
    const double step = hyb_picture_step((p->high - p->low) * 0.999, 7, &mantissa, &exponent);
    long long k = (long long)floor(p->low / step + 0.5);
    for (; (double)k * step <= p->high + step / 2; k++) {
        const double y = hyb_picture_y((double)k * step, p->low, p->high);
        hyb_picture_grid(p, y);
        hyb_picture_place(p, HYB_PICTURE_LEFT - 8, y + 4.5, " text-anchor=\"end\"");
        hyb_picture_label(p, k, mantissa, exponent);
        hyb_picture_text(p, "</text>\n");
    }
    hyb_picture_axis_title(p, 20, "-90", "loss, nats a token");
}

static void hyb_picture_rate_axis(hyb_picture *p)
{
    int mantissa, exponent;
    double step;
    long long k;
    if (!(p->rate > 0)) return;
    step = hyb_picture_step(p->rate, 4, &mantissa, &exponent);
    p->rate = ceil(p->rate / step - 1e-9) * step;
    for (k = 0; (double)k * step <= p->rate + step / 2; k++) {
        const double y = hyb_picture_y((double)k * step, 0, p->rate);
        hyb_picture_place(p, HYB_PICTURE_RIGHT + 8, y + 4.5, " class=\"faint\"");
        hyb_picture_label(p, k, mantissa, exponent);
        hyb_picture_text(p, "</text>\n");
    }
    hyb_picture_axis_title(p, 784, "90", "learning rate");
}

static void hyb_picture_step_axis(hyb_picture *p)
{
    int mantissa, exponent;
    const double step = HYB_MAX(hyb_picture_step(p->x1, 8, &mantissa, &exponent), 1);
    long long k;
    if (exponent < 0) {
        mantissa = 1;
        exponent = 0;
    }
    for (k = 0; (double)k * step <= p->x1 * 1.0001; k++) {
        hyb_picture_place(p, hyb_picture_x(p, (double)k * step), HYB_PICTURE_BOTTOM + 20, " text-anchor=\"middle\"");
        hyb_picture_label(p, k, mantissa, exponent);
        hyb_picture_text(p, "</text>\n");
    }
    hyb_picture_place(p, (HYB_PICTURE_LEFT + HYB_PICTURE_RIGHT) / 2, HYB_PICTURE_BOTTOM + 42,
                      " text-anchor=\"middle\"");
    hyb_picture_text(p, "steps</text>\n");
}
#endif
