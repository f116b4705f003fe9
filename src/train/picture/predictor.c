/* train/picture/predictor: what a predictor did, in and below the frame, and how sure it was, beside it. */
#ifndef HYB_TRAIN_PICTURE_PREDICTOR_C
#define HYB_TRAIN_PICTURE_PREDICTOR_C
#include "curves.c"

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
#endif
