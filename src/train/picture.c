/* train/picture: the curve of a run as an SVG.
 *
 *     title                       legend
 *     loss  +--------------------------+ rate        LEFT, RIGHT, TOP, BOTTOM: the frame, in units of the picture
 *           |                          |
 *           +--------------------------+
 *                      steps
 *
 * Of a run with a predictor a strip above the frame has the phases, below it a rug has the moves, and the legend of
 * both lies beside "steps". To the right of it all is the calibration: two small frames, SIDE_LEFT to SIDE_RIGHT.
 *
 * Numbers are printed without the C library's decimal point, which a locale may have changed. */
#ifndef HYB_TRAIN_PICTURE_C
#define HYB_TRAIN_PICTURE_C
#include "curve.c"

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

/* ---- curves ------------------------------------------------------------------------------------------------------ */

/* Points i..end - 1 share a column: where it ends, beginning with point i. */
static size_t hyb_picture_column(const hyb_picture *p, size_t i)
{
    const hybrid_curve *c = p->curve;
    const double wide = p->x1 / (double)HYB_PICTURE_COLUMNS;
    const double end = (floor((double)c->points[i].step / wide) + 1) * wide;
    for (i++; i < c->n_points && (double)c->points[i].step < end; i++) {}
    return i;
}

/* Mean, lowest and highest loss of points i..end - 1, and the mean of their steps; false: there is none. */
static bool hyb_picture_mean(const hyb_picture *p, size_t i, size_t end, double *step, double v[3])
{
    double n = 0;
    *step = v[0] = 0;
    v[1] = HUGE_VAL;
    v[2] = -HUGE_VAL;
    for (; i < end; i++) {
        const double loss = p->curve->points[i].loss;
        if (!hyb_picture_known(loss)) continue;
        *step += (double)p->curve->points[i].step;
        v[0] += loss;
        v[1] = HYB_MIN(v[1], loss);
        v[2] = HYB_MAX(v[2], loss);
        n++;
    }
    if (n < 1) return false;
    *step /= n;
    v[0] /= n;
    return true;
}

static void hyb_picture_point(hyb_picture *p, double x, double y)
{
    hyb_picture_number(p, x, ",");
    hyb_picture_number(p, y, " ");
}

static void hyb_picture_begin(hyb_picture *p, const char *class_name)
{
    hyb_picture_text(p, "<polyline class=\"");
    hyb_picture_text(p, class_name);
    hyb_picture_text(p, "\" points=\"");
}

/* The loss; a gap where there is none. */
static void hyb_picture_loss(hyb_picture *p)
{
    double step, v[3];
    size_t i, end;
    bool open = false;
    for (i = 0; i < p->curve->n_points; i = end) {
        const bool there = hyb_picture_mean(p, i, end = hyb_picture_column(p, i), &step, v);
        if (!there && open) hyb_picture_text(p, "\"/>\n");
        if (there && !open) hyb_picture_begin(p, "loss");
        if (there) hyb_picture_point(p, hyb_picture_x(p, step), hyb_picture_y(v[0], p->low, p->high));
        open = there;
    }
    if (open) hyb_picture_text(p, "\"/>\n");
}

/* Between the lowest and the highest loss of each column, where columns have several: there along the one and back
 * along the other. */
static void hyb_picture_band(hyb_picture *p)
{
    double step, v[3];
    size_t i, end;
    int way;
    if (p->curve->n_points <= HYB_PICTURE_COLUMNS) return;
    hyb_picture_text(p, "<path class=\"band\" d=\"");
    for (i = 0; i < p->curve->n_points; i = end) {
        if (!hyb_picture_mean(p, i, end = hyb_picture_column(p, i), &step, v)) continue;
        for (way = 1; way < 3; way++) {
            hyb_picture_text(p, way == 1 ? "M" : "V");
            if (way == 1) hyb_picture_number(p, hyb_picture_x(p, step), ",");
            hyb_picture_number(p, hyb_picture_y(v[way], p->low, p->high), "");
        }
    }
    hyb_picture_text(p, "\"/>\n");
}

static void hyb_picture_rate(hyb_picture *p)
{
    const hybrid_curve *c = p->curve;
    size_t i, end;
    if (!(p->rate > 0)) return;
    hyb_picture_begin(p, "rate");
    for (i = 0; i < c->n_points; i = end) {
        const hybrid_curve_point *at;
        end = hyb_picture_column(p, i);
        at = &c->points[i ? end - 1 : 0];
        if (!hyb_picture_known(at->rate)) continue;
        hyb_picture_point(p, hyb_picture_x(p, (double)at->step), hyb_picture_y(at->rate, 0, p->rate));
    }
    hyb_picture_text(p, "\"/>\n");
}

/* Validation is looked at now and then: a line, and a dot for each where there are few. */
static void hyb_picture_validation(hyb_picture *p)
{
    const hybrid_curve *c = p->curve;
    size_t i, n = 0;
    for (i = 0; i < c->n_points; i++) n += hyb_picture_known(c->points[i].validation);
    if (!n) return;
    hyb_picture_begin(p, "validation");
    for (i = 0; i < c->n_points; i++)
        if (hyb_picture_known(c->points[i].validation))
            hyb_picture_point(p, hyb_picture_x(p, (double)c->points[i].step),
                              hyb_picture_y(c->points[i].validation, p->low, p->high));
    hyb_picture_text(p, "\"/>\n");
    for (i = 0; i < c->n_points && n <= 60; i++) {
        if (!hyb_picture_known(c->points[i].validation)) continue;
        hyb_picture_text(p, "<circle class=\"dot\" r=\"3\" cx=\"");
        hyb_picture_number(p, hyb_picture_x(p, (double)c->points[i].step), "\" cy=\"");
        hyb_picture_number(p, hyb_picture_y(c->points[i].validation, p->low, p->high), "\"/>\n");
    }
}

/* ---- what a predictor did ---------------------------------------------------------------------------------------- */

/* The part of points i..end - 1 that is in a phase: where it begins and ends, the phases upon each other. */
static void hyb_picture_share(const hyb_picture *p, size_t i, size_t end, int phase, double part[2])
{
    size_t k, below = 0, here = 0;
    for (k = i; k < end; k++) {
        below += (int)p->curve->points[k].predict.phase < phase;
        here += (int)p->curve->points[k].predict.phase == phase;
    }
    part[0] = (double)below / (double)(end - i);
    part[1] = (double)(below + here) / (double)(end - i);
}

static void hyb_picture_open(hyb_picture *p, const char *element, const char *class_name, const char *before)
{
    hyb_picture_text(p, "<");
    hyb_picture_text(p, element);
    hyb_picture_text(p, " class=\"");
    hyb_picture_text(p, class_name);
    hyb_picture_text(p, before);
}

/* A box of a path. */
static void hyb_picture_box(hyb_picture *p, double x0, double x1, double y0, double y1)
{
    hyb_picture_text(p, "M");
    hyb_picture_number(p, x0, ",");
    hyb_picture_number(p, y0, "H");
    hyb_picture_number(p, x1, "V");
    hyb_picture_number(p, y1, "H");
    hyb_picture_number(p, x0, "z");
}

/* Moves in the strip: predictions that took no step's time, as in mode A, are two columns wide there, and begin where
 * the step before them ends; they take at most half of it. */
static void hyb_picture_predicted(hyb_picture *p)
{
    const double wide = 2 * ((double)HYB_PICTURE_RIGHT - (double)HYB_PICTURE_LEFT) / (double)HYB_PICTURE_COLUMNS;
    double free_from = 0;
    size_t i;
    for (i = 0; i < p->curve->n_points; i++) {
        const hybrid_predict_step *at = &p->curve->points[i].predict;
        const double x = hyb_picture_x(p, (double)p->curve->points[i].step);
        if (at->event != HYBRID_PREDICT_MOVED || at->phase == HYBRID_PHASE_PREDICT || x < free_from) continue;
        hyb_picture_box(p, x, HYB_MIN(x + wide, (double)HYB_PICTURE_RIGHT), HYB_PICTURE_STRIP, HYB_PICTURE_RUG);
        free_from = x + 2 * wide;
    }
}

/* Where the run was in a phase. */
static void hyb_picture_strip(hyb_picture *p, int phase)
{
    const hybrid_curve_point *points = p->curve->points;
    const double bottom = (double)HYB_PICTURE_RUG, height = bottom - (double)HYB_PICTURE_STRIP;
    double part[2];
    size_t i, end;
    hyb_picture_open(p, "path", hyb_phase_name((hybrid_phase)phase), "\" d=\"");
    for (i = 0; i < p->curve->n_points; i = end) {
        hyb_picture_share(p, i, end = hyb_picture_column(p, i), phase, part);
        if (!(part[1] > part[0])) continue;
        hyb_picture_box(p, hyb_picture_x(p, (double)(points[i].step - 1)),
                        hyb_picture_x(p, (double)points[end - 1].step), bottom - height * part[0],
                        bottom - height * part[1]);
    }
    if (phase == HYBRID_PHASE_PREDICT) hyb_picture_predicted(p);
    hyb_picture_text(p, "\"/>\n");
}

static bool hyb_picture_marked(const hybrid_curve_point *at, bool back)
{
    return back ? at->went_back > 0 : at->predict.event == HYBRID_PREDICT_MOVED;
}

/* Where weights were moved: a short line; where the run went back to: from the top of the frame to its bottom. One a
 * column. */
static void hyb_picture_marks(hyb_picture *p, bool back)
{
    const hybrid_curve_point *points = p->curve->points;
    size_t i, k, end;
    hyb_picture_open(p, "path", back ? "back" : "moved", "\" d=\"");
    for (i = 0; i < p->curve->n_points; i = end) {
        end = hyb_picture_column(p, i);
        for (k = i; k < end && !hyb_picture_marked(&points[k], back); k++) {}
        if (k == end) continue;
        hyb_picture_text(p, "M");
        hyb_picture_number(p, hyb_picture_x(p, (double)points[k].step), ",");
        hyb_picture_number(p, HYB_PICTURE_RUG, "V");
        hyb_picture_number(p, back ? HYB_PICTURE_BOTTOM : HYB_PICTURE_TOP, "");
    }
    hyb_picture_text(p, "\"/>\n");
}

/* Was anything expected of the point's loss that can be drawn? */
static bool hyb_picture_expects(const hybrid_curve_point *at)
{
    return at->predict.high > 0 && hyb_picture_known(at->predict.low) && hyb_picture_known(at->predict.high);
}

/* An area between two curves, column by column. */
typedef struct hyb_picture_area {
    size_t n;
    float x[HYB_PICTURE_COLUMNS + 2], low[HYB_PICTURE_COLUMNS + 2], high[HYB_PICTURE_COLUMNS + 2];
} hyb_picture_area;

static void hyb_picture_area_end(hyb_picture *p, hyb_picture_area *area)
{
    size_t i;
    if (area->n > 1) {
        hyb_picture_open(p, "polygon", "expected", "\" points=\"");
        for (i = 0; i < area->n; i++) hyb_picture_point(p, (double)area->x[i], (double)area->high[i]);
        for (i = area->n; i-- > 0;) hyb_picture_point(p, (double)area->x[i], (double)area->low[i]);
        hyb_picture_text(p, "\"/>\n");
    }
    area->n = 0;
}

/* Means of what was expected of points i..end - 1. false: nothing was. */
static bool hyb_picture_area_add(const hyb_picture *p, hyb_picture_area *area, size_t i, size_t end)
{
    double x = 0, low = 0, high = 0, n = 0;
    for (; i < end; i++) {
        const hybrid_curve_point *at = &p->curve->points[i];
        if (!hyb_picture_expects(at)) continue;
        x += (double)at->step;
        low += at->predict.low;
        high += at->predict.high;
        n++;
    }
    if (n < 1 || area->n == HYB_PICTURE_COLUMNS + 2) return false;
    area->x[area->n] = (float)hyb_picture_x(p, x / n);
    area->low[area->n] = (float)hyb_picture_y(low / n, p->low, p->high);
    area->high[area->n++] = (float)hyb_picture_y(high / n, p->low, p->high);
    return true;
}

/* Between which losses nine of ten steps were expected. */
static void hyb_picture_expected(hyb_picture *p)
{
    hyb_picture_area area;
    size_t i, end;
    area.n = 0;
    for (i = 0; i < p->curve->n_points; i = end) {
        end = hyb_picture_column(p, i);
        if (!hyb_picture_area_add(p, &area, i, end)) hyb_picture_area_end(p, &area);
    }
    hyb_picture_area_end(p, &area);
}

static void hyb_picture_predictor(hyb_picture *p)
{
    if (!p->predicts) return;
    hyb_picture_expected(p);
    hyb_picture_strip(p, HYBRID_PHASE_WARMUP);
    hyb_picture_strip(p, HYBRID_PHASE_FULL);
    hyb_picture_strip(p, HYBRID_PHASE_CORRECT);
    hyb_picture_strip(p, HYBRID_PHASE_PREDICT); /* above the step that a move took no time of */
    hyb_picture_marks(p, false);
    hyb_picture_marks(p, true);
}

/* A square and its name, below the frame; the x of the next one. */
static double hyb_picture_square(hyb_picture *p, double x, const char *class_name, const char *name)
{
    const double y = (double)HYB_PICTURE_BOTTOM + 42;
    hyb_picture_open(p, "path", class_name, "\" d=\"");
    hyb_picture_box(p, x, x + 10, y, y - 10);
    hyb_picture_text(p, "\"/>\n");
    hyb_picture_place(p, x + 14, y, " font-size=\"12\"");
    hyb_picture_text(p, name);
    hyb_picture_text(p, "</text>\n");
    return x + 14 + 6.3 * (double)strlen(name) + 14;
}

static void hyb_picture_predictor_legend(hyb_picture *p)
{
    double x = HYB_PICTURE_LEFT, n = 0, within = 0;
    char text[48];
    size_t i;
    int phase;
    if (!p->predicts) return;
    for (phase = 0; phase < 4; phase++) {
        const char *name = hyb_phase_name((hybrid_phase)phase);
        x = hyb_picture_square(p, x, name, name);
    }
    for (i = 0; i < p->curve->n_points; i++) {
        const hybrid_curve_point *at = &p->curve->points[i];
        if (!hyb_picture_expects(at)) continue;
        n++;
        within += at->loss >= at->predict.low && at->loss <= at->predict.high;
    }
    snprintf(text, sizeof text, "band of 90 %%: %d %% in it", n > 0 ? (int)(100 * within / n + 0.5) : 0);
    x = hyb_picture_square(p, 444, "expected", text);
    hyb_picture_square(p, x, "back", "went back");
}

/* ---- calibration: how sure it was, against what then happened ---------------------------------------------------- */

/* A place in one of the two frames: x and y from 0 to 1. */
static double hyb_picture_side_x(double x)
{
    const double left = (double)HYB_PICTURE_SIDE_LEFT;
    return left + ((double)HYB_PICTURE_SIDE_RIGHT - left) * x;
}
static double hyb_picture_side_y(bool lower, double y)
{
    const double top = lower ? (double)HYB_PICTURE_SIDE_LOWER : (double)HYB_PICTURE_TOP;
    const double bottom = lower ? (double)HYB_PICTURE_BOTTOM : (double)HYB_PICTURE_SIDE_MIDDLE;
    return bottom - (bottom - top) * HYB_MIN(HYB_MAX(y, 0), 1);
}

static void hyb_picture_side_line(hyb_picture *p, bool lower, const char *class_name, double y0, double y1)
{
    hyb_picture_open(p, "line", class_name, "\" x1=\"");
    hyb_picture_number(p, HYB_PICTURE_SIDE_LEFT, "\" x2=\"");
    hyb_picture_number(p, HYB_PICTURE_SIDE_RIGHT, "\" y1=\"");
    hyb_picture_number(p, hyb_picture_side_y(lower, y0), "\" y2=\"");
    hyb_picture_number(p, hyb_picture_side_y(lower, y1), "\"/>\n");
}

static void hyb_picture_side_text(hyb_picture *p, double x, double y, const char *more, const char *text)
{
    hyb_picture_place(p, x, y, more);
    hyb_picture_text(p, text);
    hyb_picture_text(p, "</text>\n");
}

/* Its title above, percents from `from` to 100 at its left side. */
static void hyb_picture_side_frame(hyb_picture *p, bool lower, const char *title, int from)
{
    char text[16];
    int i;
    hyb_picture_side_text(p, HYB_PICTURE_SIDE_LEFT, hyb_picture_side_y(lower, 1) - 12, " font-size=\"12\"", title);
    for (i = 0; i < 3; i++) {
        hyb_picture_side_line(p, lower, "grid", i / 2.0, i / 2.0);
        snprintf(text, sizeof text, "%d %%", from + (100 - from) * i / 2);
        hyb_picture_side_text(p, HYB_PICTURE_SIDE_LEFT - 6, hyb_picture_side_y(lower, i / 2.0) + 4,
                              " font-size=\"11\" class=\"faint\" text-anchor=\"end\"", text);
    }
}

static void hyb_picture_side_dot(hyb_picture *p, const char *class_name, double r, double x, double y)
{
    hyb_picture_open(p, "circle", class_name, "\" r=\"");
    hyb_picture_number(p, r, "\" cx=\"");
    hyb_picture_number(p, x, "\" cy=\"");
    hyb_picture_number(p, y, "\"/>\n");
}

/* Of moves that were made with a confidence of some tenth: how many were worth something. A dot for each tenth, as
 * large as there were many; they should lie on the diagonal. */
static void hyb_picture_reliability(hyb_picture *p)
{
    double n[HYB_PICTURE_BINS] = { 0 }, said[HYB_PICTURE_BINS] = { 0 }, good[HYB_PICTURE_BINS] = { 0 }, all = 0;
    char text[64];
    size_t i;
    int bin;
    for (i = 0; i < p->curve->n_points; i++) {
        const hybrid_predict_step *at = &p->curve->points[i].predict;
        if (!(at->said > 0)) continue;
        bin = HYB_MIN((int)(at->said * HYB_PICTURE_BINS), HYB_PICTURE_BINS - 1);
        n[bin]++;
        said[bin] += HYB_MIN(at->said, 1.0);
        good[bin] += at->worth > 0;
        all++;
    }
    hyb_picture_side_frame(p, false, "moves that were worth it", 0);
    hyb_picture_side_line(p, false, "ideal", 0, 1);
    for (bin = 0; bin < HYB_PICTURE_BINS; bin++)
        if (n[bin] > 0)
            hyb_picture_side_dot(p, "said", 3 + 6 * sqrt(n[bin] / all), hyb_picture_side_x(said[bin] / n[bin]),
                                 hyb_picture_side_y(false, good[bin] / n[bin]));
    snprintf(text, sizeof text, "by their confidence: %.0f moves", all);
    hyb_picture_side_text(p, HYB_PICTURE_SIDE_LEFT, HYB_PICTURE_SIDE_MIDDLE + 18, " font-size=\"11\" class=\"faint\"",
                          text);
}

/* Which part of the losses was within the band of 90 %, in each of some pieces of the run. */
static void hyb_picture_coverage(hyb_picture *p)
{
    double n[HYB_PICTURE_PIECES] = { 0 }, within[HYB_PICTURE_PIECES] = { 0 };
    size_t i;
    int piece, way;
    for (i = 0; i < p->curve->n_points; i++) {
        const hybrid_curve_point *at = &p->curve->points[i];
        piece = (int)HYB_MIN((double)(at->step - 1) / p->x1 * HYB_PICTURE_PIECES, HYB_PICTURE_PIECES - 1.0);
        if (!hyb_picture_expects(at)) continue;
        n[piece]++;
        within[piece] += at->loss >= at->predict.low && at->loss <= at->predict.high;
    }
    hyb_picture_side_frame(p, true, "losses within the band of 90 %", 50);
    hyb_picture_side_line(p, true, "ideal", 0.8, 0.8);
    for (way = 0; way < 2; way++) {
        if (!way) hyb_picture_begin(p, "covered");
        for (piece = 0; piece < HYB_PICTURE_PIECES; piece++) {
            const double x = hyb_picture_side_x((piece + 0.5) / HYB_PICTURE_PIECES);
            const double y = hyb_picture_side_y(true, 2 * within[piece] / HYB_MAX(n[piece], 1) - 1);
            if (n[piece] > 0 && !way) hyb_picture_point(p, x, y);
            if (n[piece] > 0 && way) hyb_picture_side_dot(p, "piece", 3, x, y);
        }
        if (!way) hyb_picture_text(p, "\"/>\n");
    }
    hyb_picture_side_text(p, HYB_PICTURE_SIDE_LEFT, HYB_PICTURE_BOTTOM + 18, " font-size=\"11\" class=\"faint\"",
                          "from the first step to the last");
}

static void hyb_picture_calibration(hyb_picture *p)
{
    if (!p->predicts) return;
    hyb_picture_reliability(p);
    hyb_picture_coverage(p);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void hyb_picture_head(hyb_picture *p)
{
    hyb_picture_text(p, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"hybrid-curve\" viewBox=\"0 0 ");
    hyb_picture_text(p, p->predicts ? "1080 440\" " : "800 440\" ");
    hyb_picture_text(p, "font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n<style>\n"
                        ".hybrid-curve .page{fill:#fff} .hybrid-curve text{fill:#24292f} "
                        ".hybrid-curve .faint{fill:#6e7781}\n"
                        ".hybrid-curve .grid{stroke:#d8dee4} .hybrid-curve polyline{fill:none;stroke-linejoin:round}\n"
                        ".hybrid-curve .loss{stroke:#3070d0;stroke-width:2} "
                        ".hybrid-curve .band{stroke:#3070d0;stroke-width:2;opacity:.25}\n");
    hyb_picture_text(p, ".hybrid-curve .validation{stroke:#d0541a;stroke-width:2} .hybrid-curve .dot{fill:#d0541a}\n"
                        ".hybrid-curve .rate{stroke:#8c959f;stroke-width:1.5;stroke-dasharray:5 4}\n"
                        "@media (prefers-color-scheme: dark) {\n"
                        ".hybrid-curve .page{fill:#14171c} .hybrid-curve text{fill:#e6e6e6} "
                        ".hybrid-curve .faint{fill:#9aa4af}\n"
                        ".hybrid-curve .grid{stroke:#30363d} .hybrid-curve .loss, .hybrid-curve .band{stroke:#6ba4ff}\n"
                        ".hybrid-curve .validation{stroke:#ff9457} .hybrid-curve .dot{fill:#ff9457}\n}\n");
    if (p->predicts)
        hyb_picture_text(p, ".hybrid-curve .warm-up{fill:#8c959f} .hybrid-curve .full{fill:#2da44e} "
                            ".hybrid-curve .predict{fill:#9a5be0}\n.hybrid-curve .correct{fill:#d9b310} "
                            ".hybrid-curve .expected{fill:#9a5be0;opacity:.25}\n"
                            ".hybrid-curve .moved{stroke:#9a5be0} "
                            ".hybrid-curve .said{fill:#9a5be0;opacity:.75} "
                            ".hybrid-curve .ideal{stroke:#8c959f;stroke-dasharray:3 3}\n"
                            ".hybrid-curve .covered{stroke:#9a5be0;stroke-width:1.5} "
                            ".hybrid-curve .piece{fill:#9a5be0}\n"
                            ".hybrid-curve .back{fill:#cf1259;stroke:#cf1259;stroke-width:1.5;stroke-dasharray:3 3}\n");
    hyb_picture_text(p, "</style>\n<rect class=\"page\" width=\"");
    hyb_picture_text(p, p->predicts ? "1080" : "800");
    hyb_picture_text(p, "\" height=\"440\"/>\n");
}

/* A piece of a curve and its name; the x of the next one. */
static double hyb_picture_legend_item(hyb_picture *p, double x, const char *class_name, const char *name, double v)
{
    char text[40];
    double width = 6.8 * (double)strlen(name);
    hyb_picture_begin(p, class_name);
    hyb_picture_point(p, x, 46);
    hyb_picture_point(p, x + 22, 46);
    hyb_picture_text(p, "\"/>\n");
    hyb_picture_place(p, x + 28, 50.5, "");
    hyb_picture_text(p, name);
    if (v - v == 0) {
        hyb_picture_text(p, " ");
        hyb_curve_fixed(v, 3, text);
        hyb_picture_text(p, text);
        width += 7.5 * (double)(strlen(text) + 1);
    }
    hyb_picture_text(p, "</text>\n");
    return x + 28 + width + 20;
}

static void hyb_picture_legend(hyb_picture *p)
{
    const hybrid_curve *c = p->curve;
    double x = HYB_PICTURE_LEFT, step, v[3];
    size_t i = c->n_points, from;
    if (!i) return;
    from = i > 1 ? hyb_picture_column(p, 0) : 0;
    from = from < i ? from : 0; /* as many of the last steps as a column has */
    if (hyb_picture_mean(p, i - HYB_MIN(HYB_MAX(from, 1), i), i, &step, v))
        x = hyb_picture_legend_item(p, x, "loss", "loss", v[0]);
    for (; i && !hyb_picture_known(c->points[i - 1].validation); i--) {}
    if (i) x = hyb_picture_legend_item(p, x, "validation", "validation", c->points[i - 1].validation);
    if (p->rate > 0) x = hyb_picture_legend_item(p, x, "rate", "learning rate", (double)NAN);
}

static void hyb_picture_title(hyb_picture *p)
{
    const hybrid_curve *c = p->curve;
    char text[96] = "no steps yet";
    if (c->n_points && c->desc.n_steps)
        snprintf(text, sizeof text, "step %lld of %lld", (long long)c->points[c->n_points - 1].step,
                 (long long)c->desc.n_steps);
    else if (c->n_points)
        snprintf(text, sizeof text, "step %lld", (long long)c->points[c->n_points - 1].step);
    hyb_picture_place(p, HYB_PICTURE_LEFT, 24, " font-size=\"16\" font-weight=\"600\"");
    hyb_picture_escaped(p, c->desc.title ? c->desc.title : "training");
    hyb_picture_text(p, "</text>\n");
    hyb_picture_place(p, HYB_PICTURE_RIGHT, 24, " class=\"faint\" text-anchor=\"end\"");
    hyb_picture_text(p, text);
    hyb_picture_text(p, "</text>\n");
}

/* false: a write has failed. */
static bool hyb_picture_draw(const hybrid_curve *c, hybrid_write_fn write, void *user)
{
    hyb_picture p;
    memset(&p, 0, sizeof p);
    p.curve = c;
    p.write = write;
    p.user = user;
    hyb_picture_range(&p);
    hyb_picture_head(&p);
    hyb_picture_title(&p);
    if (c->n_points) hyb_picture_loss_axis(&p);
    hyb_picture_rate_axis(&p);
    hyb_picture_step_axis(&p);
    hyb_picture_predictor(&p);
    hyb_picture_rate(&p);
    hyb_picture_band(&p);
    hyb_picture_loss(&p);
    hyb_picture_validation(&p);
    hyb_picture_legend(&p);
    hyb_picture_predictor_legend(&p);
    hyb_picture_calibration(&p);
    hyb_picture_text(&p, "</svg>\n");
    return !p.bad;
}

HYB_BORDER(hybrid_result, hybrid_curve_draw,
           (hybrid_curve *curve, hybrid_write_fn write, void *user, hybrid_error *error), (curve, write, user, error))
{
    hybrid_result r;
    if (!curve || !write)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_curve_draw: %s is NULL", curve ? "write" : "curve");
    if ((r = hyb_curve_enter(curve, "hybrid_curve_draw", error)) != HYBRID_OK) return r;
    if (!hyb_picture_draw(curve, write, user))
        r = hyb_fail(error, HYBRID_ERROR_IO, "hybrid_curve_draw: write gave false");
    curve->in_use = 0;
    return r;
}

/* A hybrid_write_fn; user: a hyb_output. */
static bool hyb_picture_write(void *user, const void *data, size_t n)
{
    return hyb_output_write((hyb_output *)user, data, n);
}

HYB_BORDER(hybrid_result, hybrid_curve_draw_path, (hybrid_curve *curve, const char *path, hybrid_error *error),
           (curve, path, error))
{
    hyb_output out;
    hybrid_result r;
    if (!curve || !path)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_curve_draw_path: %s is NULL", curve ? "path" : "curve");
    if ((r = hyb_curve_enter(curve, "hybrid_curve_draw_path", error)) != HYBRID_OK) return r;
    r = hyb_output_open(curve->rt, path, false, &out, error);
    if (!r && hyb_picture_draw(curve, hyb_picture_write, &out))
        r = hyb_output_finish(curve->rt, &out, error);
    else if (!r) {
        hyb_output_abandon(curve->rt, &out);
        r = hyb_fail(error, HYBRID_ERROR_IO, "writing '%.160s' failed", path);
    }
    curve->in_use = 0;
    return r;
}
#endif
