/* train/picture/curves: the curves of a run: loss, its range, rate, validation. */
#ifndef HYB_TRAIN_PICTURE_CURVES_C
#define HYB_TRAIN_PICTURE_CURVES_C
#include "frame.c"

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
#endif
