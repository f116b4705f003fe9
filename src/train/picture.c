/* train/picture: the curve of a run as an SVG.
 *
 *     title                       legend
 *     loss  +--------------------------+ rate        LEFT, RIGHT, TOP, BOTTOM: the frame, in units of the picture
 *           |                          |
 *           +--------------------------+
 *                      steps
 *
 * Of a run with a predictor a strip above the frame has the phases, below it a rug has the moves, and the legend of
 * both lies beside "steps". To the right of it all is the calibration: two small frames, SIDE_LEFT to SIDE_RIGHT. */
#ifndef HYB_TRAIN_PICTURE_C
#define HYB_TRAIN_PICTURE_C
#include "picture/predictor.c"

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
