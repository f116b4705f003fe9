/* train/curve: the numbers of a run: points in memory, a line of JSON for each in a file, and a line for people.
 *
 * The file only ever grows by whole lines that are handed to the system at once, so a killed program leaves at most the
 * half of one. When a run goes on, or a write has failed, the file is made anew out of the points, beside it.
 *
 *     {"step": 1, "loss": 5.5, ...}
 *     {"step": 2, "loss": 5.25, ...}       of a run that a predictor watches it has more fields
 *     {"went_back_to": 1}                  the predictor has put everything back to what it was after that step */
#ifndef HYB_TRAIN_CURVE_C
#define HYB_TRAIN_CURVE_C
#include "../api/curve.h"
#include "../core/json.c"
#include "../core/lifetime.c"
#include "../core/output.c"

enum {
    HYB_CURVE_LINE = 576,   /* bytes; ours have less than 560 */
    HYB_CURVE_BLOCK = 8192, /* that are read at a time */
    HYB_CURVE_RECENT = 32   /* steps that tell the speed */
};

struct hybrid_curve {
    hybrid_runtime *rt;
    hybrid_curve_desc desc; /* title and path: own */
    char *title, *path;
    hybrid_curve_point *points;
    size_t n_points, room;
    size_t n_before; /* points of the file: another process, perhaps another machine took that time */
    hyb_append file;
    bool torn; /* a write has failed: the file is not what the points say */
    char line[256];
    uint64_t in_use; /* a call is under way: its callbacks may not begin another */
};

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static bool hyb_curve_finite(double v) { return v - v == 0; }

/* A number as JSON has it. */
static size_t hyb_curve_number(double v, char *out)
{
    char text[40];
    size_t n;
    if (!hyb_curve_finite(v)) {
        memcpy(out, "null", 4);
        return 4;
    }
    n = hyb_decimal_write(v, text);
    memcpy(out, text, n);
    return n;
}

static size_t hyb_curve_field(char *line, size_t n, const char *name, double v)
{
    n += (size_t)snprintf(line + n, 32, ", \"%s\": ", name);
    return n + hyb_curve_number(v, line + n);
}

/* As it is in the file, and shown. */
static const char *hyb_phase_name(hybrid_phase phase)
{
    static const char *const names[] = { "warm-up", "full", "predict", "correct" };
    return names[(size_t)phase < 4 ? (size_t)phase : 0];
}

/* Is there a predictor? Its confidence is never 0. */
static bool hyb_curve_predicts(const hybrid_predict_step *p)
{
    return p->phase != HYBRID_PHASE_WARMUP || p->event != HYBRID_PREDICT_NOTHING || p->confidence > 0 || p->high > 0;
}

static size_t hyb_curve_print_predict(const hybrid_predict_step *p, char *line, size_t n)
{
    if (!hyb_curve_predicts(p)) return n;
    n += (size_t)snprintf(line + n, 32, ", \"phase\": \"%s\"", hyb_phase_name(p->phase));
    if (p->event == HYBRID_PREDICT_MOVED) {
        n += (size_t)snprintf(line + n, 32, ", \"event\": \"moved\"");
        n = hyb_curve_field(line, n, "moved", p->moved);
    }
    if (p->high > 0) {
        n = hyb_curve_field(line, n, "low", p->low);
        n = hyb_curve_field(line, n, "high", p->high);
    }
    if (p->said > 0) {
        n = hyb_curve_field(line, n, "said", p->said);
        n = hyb_curve_field(line, n, "worth", p->worth);
    }
    return hyb_curve_field(line, n, "confidence", p->confidence);
}

/* {"step": 3, "loss": 1.5, "validation": 1.75, "rate": 0.001, ...} and a newline; the length. */
static size_t hyb_curve_print(const hybrid_curve_point *p, char line[HYB_CURVE_LINE])
{
    size_t n = (size_t)snprintf(line, 64, "{\"step\": %lld", (long long)p->step);
    n = hyb_curve_field(line, n, "loss", p->loss);
    if (p->validation - p->validation == 0) n = hyb_curve_field(line, n, "validation", p->validation);
    n = hyb_curve_field(line, n, "rate", p->rate);
    n = hyb_curve_field(line, n, "grad_norm", p->grad_norm);
    n += (size_t)snprintf(line + n, 48, ", \"tokens\": %lld", (long long)p->n_tokens);
    n = hyb_curve_field(line, n, "seconds", p->seconds);
    if (p->seconds > 0 && (double)p->n_tokens / p->seconds < 1e15)
        n += (size_t)snprintf(line + n, 48, ", \"tokens_per_second\": %lld",
                              (long long)((double)p->n_tokens / p->seconds + 0.5));
    n = hyb_curve_print_predict(&p->predict, line, n);
    memcpy(line + n, "}\n", 2);
    return n + 2;
}

static size_t hyb_curve_print_back(int64_t step, char line[HYB_CURVE_LINE])
{
    return (size_t)snprintf(line, 64, "{\"went_back_to\": %lld}\n", (long long)step);
}

/* NaN: it is not there, or null. false: it is not a number. */
static bool hyb_curve_take(const hyb_json *object, const char *name, double *v)
{
    const hyb_json *value = hyb_json_get(object, name);
    *v = (double)NAN;
    if (!value || value->type == HYB_JSON_NULL) return true;
    if (value->type == HYB_JSON_INT)
        *v = (double)value->u.i;
    else if (value->type == HYB_JSON_REAL)
        *v = value->u.d;
    else
        return false;
    return true;
}

/* The same, with 0 for what is not there or not finite. */
static bool hyb_curve_take_known(const hyb_json *object, const char *name, double *v)
{
    const bool good = hyb_curve_take(object, name, v);
    if (!hyb_curve_finite(*v)) *v = 0;
    return good;
}

static bool hyb_curve_take_predict(const hyb_json *object, hybrid_predict_step *p)
{
    const hyb_json *phase = hyb_json_get(object, "phase"), *event = hyb_json_get(object, "event");
    int i;
    memset(p, 0, sizeof *p);
    if (phase && phase->type != HYB_JSON_STRING) return false;
    for (i = 0; phase && i < 4; i++) {
        if (strcmp(phase->u.s, hyb_phase_name((hybrid_phase)i)) != 0) continue;
        p->phase = (hybrid_phase)i;
        phase = NULL;
    }
    if (phase || (event && (event->type != HYB_JSON_STRING || strcmp(event->u.s, "moved") != 0))) return false;
    if (event) p->event = HYBRID_PREDICT_MOVED;
    return hyb_curve_take_known(object, "moved", &p->moved) && hyb_curve_take_known(object, "low", &p->low) &&
           hyb_curve_take_known(object, "high", &p->high) &&
           hyb_curve_take_known(object, "confidence", &p->confidence) &&
           hyb_curve_take_known(object, "said", &p->said) && hyb_curve_take_known(object, "worth", &p->worth);
}

/* A line of a step. false: it is none. */
static bool hyb_curve_take_point(const hyb_json *object, hybrid_curve_point *p)
{
    const hyb_json *step = hyb_json_get(object, "step"), *tokens = hyb_json_get(object, "tokens");
    if (!step || step->type != HYB_JSON_INT || step->u.i < 1 || (tokens && tokens->type != HYB_JSON_INT) ||
        !hyb_json_get(object, "loss"))
        return false;
    p->step = step->u.i;
    p->n_tokens = tokens ? tokens->u.i : 0;
    p->went_back = 0;
    return hyb_curve_take(object, "loss", &p->loss) && hyb_curve_take(object, "validation", &p->validation) &&
           hyb_curve_take(object, "rate", &p->rate) && hyb_curve_take(object, "grad_norm", &p->grad_norm) &&
           hyb_curve_take(object, "seconds", &p->seconds) && hyb_curve_take_predict(object, &p->predict);
}

/* A line of the file, without its newline: a step; or where the run went back to, with *back true. *good: it is one of
 * ours. */
static hybrid_result hyb_curve_parse(hybrid_runtime *rt, const char *line, size_t n, hybrid_curve_point *p, bool *back,
                                     bool *good, hybrid_error *error)
{
    const hyb_json *to;
    hyb_json_doc doc;
    hybrid_result r = hyb_json_parse(rt, line, n, 4, 64, &doc, error);
    *back = *good = false;
    if (r) return r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK;
    to = hyb_json_get(doc.root, "went_back_to");
    *back = to && to->type == HYB_JSON_INT && to->u.i >= 0;
    if (*back) p->step = to->u.i;
    *good = *back || hyb_curve_take_point(doc.root, p);
    hyb_json_free(&doc);
    return HYBRID_OK;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_curve_push(hybrid_curve *c, const hybrid_curve_point *p, hybrid_error *error)
{
    const hybrid_result r = HYB_GROW(c->rt, c->points, c->room, c->n_points, c->n_points + 1, error);
    if (!r) c->points[c->n_points++] = *p;
    return r;
}

static hybrid_result hyb_curve_foreign(const hybrid_curve *c, uint64_t at, hybrid_error *error)
{
    return hyb_fail_at(error, HYBRID_ERROR_FORMAT, at,
                       "'%.100s' has other lines than those of a run (the first at byte %llu): give another path, or "
                       "move it away",
                       c->path, (unsigned long long)at);
}

/* A file that is read. */
typedef struct hyb_curve_reading {
    bool anew; /* the file has to be written again */
    /* The points of a run that had come to steps_done and then went back: a checkpoint may be of before. NULL: it did
     * not */
    hybrid_curve_point *kept;
    size_t n_kept;
} hyb_curve_reading;

static bool hyb_curve_arrived(const hybrid_curve *c)
{
    return c->n_points && c->points[c->n_points - 1].step == c->desc.steps_done;
}

/* Points above a step do not count any more, and a mark says so: that step's, if it is there. */
static hybrid_curve_point *hyb_curve_cut(hybrid_curve *c, int64_t step)
{
    hybrid_curve_point *last;
    while (c->n_points && c->points[c->n_points - 1].step > step) c->n_points--;
    last = c->n_points ? &c->points[c->n_points - 1] : NULL;
    if (!last || last->step != step) return NULL;
    last->went_back++;
    return last;
}

static hybrid_result hyb_curve_line_back(hybrid_curve *c, int64_t step, hyb_curve_reading *reading, hybrid_error *error)
{
    const size_t size = c->n_points * sizeof *c->points;
    if (step > c->desc.steps_done) { /* from farther on, of which nothing counts */
        reading->anew = true;
        return HYBRID_OK;
    }
    if (step < c->desc.steps_done && hyb_curve_arrived(c)) {
        hyb_free(c->rt, reading->kept);
        if (!(reading->kept = (hybrid_curve_point *)hyb_alloc(c->rt, size))) return hyb_fail_memory(error, size);
        memcpy(reading->kept, c->points, size);
        reading->n_kept = c->n_points;
    }
    hyb_curve_cut(c, step);
    return HYBRID_OK;
}

/* A whole line of the file that is read. A step that comes again was done again, by a run that went on: what was there
 * from it on does not count any more. */
static hybrid_result hyb_curve_line_read(hybrid_curve *c, const char *line, size_t n, uint64_t at,
                                         hyb_curve_reading *reading, hybrid_error *error)
{
    hybrid_curve_point p;
    hybrid_error why;
    bool good = false, back = false;
    hybrid_result r = HYBRID_OK;
    if (n <= HYB_CURVE_LINE) r = hyb_curve_parse(c->rt, line, n, &p, &back, &good, &why);
    if (r) return hyb_fail(error, r, "%s", why.message);
    if (!good) return hyb_curve_foreign(c, at, error);
    if (back) return hyb_curve_line_back(c, p.step, reading, error);
    for (; c->n_points && c->points[c->n_points - 1].step >= p.step; c->n_points--) reading->anew = true;
    if (p.step <= c->desc.steps_done) return hyb_curve_push(c, &p, error);
    reading->anew = true;
    return HYBRID_OK;
}

/* The run that goes on is one that had not gone back: after that it did not come as far again. */
static void hyb_curve_forget_back(hybrid_curve *c, hyb_curve_reading *reading)
{
    if (!reading->kept) return;
    if (!hyb_curve_arrived(c)) {
        memcpy(c->points, reading->kept, reading->n_kept * sizeof *c->points);
        c->n_points = reading->n_kept;
        reading->anew = true;
    }
    hyb_free(c->rt, reading->kept);
}

/* Is it the beginning of one of our lines? */
static bool hyb_curve_is_begun(const char *line, size_t n)
{
    return !memcmp(line, "{\"step\": ", HYB_MIN(n, 9)) || !memcmp(line, "{\"went_back_to\": ", HYB_MIN(n, 17));
}

/* What the file holds of the steps that were done. */
static hybrid_result hyb_curve_read(hybrid_curve *c, hyb_file *file, hyb_curve_reading *reading, hybrid_error *error)
{
    char block[HYB_CURVE_BLOCK], line[HYB_CURVE_LINE];
    size_t n_line = 0, i, n;
    uint64_t at, begin = 0;
    hybrid_result r = HYBRID_OK;
    for (at = 0; at < file->size && !r; at += n) {
        n = (size_t)HYB_MIN(file->size - at, (uint64_t)sizeof block);
        r = hyb_file_read(file, at, block, n, error);
        for (i = 0; i < n && !r; i++) {
            if (block[i] != '\n') {
                if (n_line < sizeof line) line[n_line] = block[i];
                n_line++;
                continue;
            }
            r = hyb_curve_line_read(c, line, n_line, begin, reading, error);
            begin = at + i + 1;
            n_line = 0;
        }
    }
    if (!r && n_line && *line && (n_line > sizeof line || !hyb_curve_is_begun(line, n_line)))
        r = hyb_curve_foreign(c, begin, error);
    hyb_curve_forget_back(c, reading);
    reading->anew = reading->anew || n_line; /* half a line, or the zeros of a machine that lost its power */
    return r;
}

/* A point, and how often the run went back to it. */
static bool hyb_curve_write_point(hyb_output *out, const hybrid_curve_point *p)
{
    char line[HYB_CURVE_LINE];
    bool good = hyb_output_write(out, line, hyb_curve_print(p, line));
    int64_t i;
    for (i = 0; i < p->went_back && good; i++) good = hyb_output_write(out, line, hyb_curve_print_back(p->step, line));
    return good;
}

/* Makes the file out of the points. */
static hybrid_result hyb_curve_rewrite(hybrid_curve *c, hybrid_error *error)
{
    hyb_output out;
    size_t i;
    bool good = true;
    hybrid_result r;
    hyb_append_close(&c->file);
    if ((r = hyb_output_open(c->rt, c->path, false, &out, error)) != HYBRID_OK) return r;
    for (i = 0; i < c->n_points && good; i++) good = hyb_curve_write_point(&out, &c->points[i]);
    if (good) return hyb_output_finish(c->rt, &out, error);
    hyb_output_abandon(c->rt, &out);
    return hyb_fail(error, HYBRID_ERROR_IO, "writing '%.160s' failed", c->path);
}

/* The file as it should be, ready for the next line. */
static hybrid_result hyb_curve_ready(hybrid_curve *c, bool anew, hybrid_error *error)
{
    const hybrid_result r = anew ? hyb_curve_rewrite(c, error) : HYBRID_OK;
    if (!r) c->torn = false;
    return r ? r : hyb_append_open(c->path, &c->file, error);
}

static hybrid_result hyb_curve_open(hybrid_curve *c, hybrid_error *error)
{
    hybrid_source source;
    hyb_file file;
    hyb_curve_reading reading;
    hybrid_result r;
    memset(&source, 0, sizeof source);
    memset(&reading, 0, sizeof reading);
    source.path = c->path;
    if (!*c->path || hyb_file_exists(c->path)) {
        if ((r = hyb_file_open_as(&source, false, &file, error)) != HYBRID_OK) return r;
        r = hyb_curve_read(c, &file, &reading, error);
        hyb_file_close(&file);
        if (r) return r;
    }
    c->n_before = c->n_points;
    return hyb_curve_ready(c, reading.anew, error);
}

/* ---- the line for people ----------------------------------------------------------------------------------------- */

/* v with a fixed number of decimals, the same in every locale; the length. */
static size_t hyb_curve_fixed(double v, int decimals, char out[40])
{
    double scale = 1;
    long long whole, part;
    int i;
    for (i = 0; i < decimals; i++) scale *= 10;
    if (!(fabs(v) < 1e12)) { /* NaN, too */
        const size_t n = hyb_decimal_write(v, out);
        out[n] = 0;
        return n;
    }
    whole = (long long)floor(fabs(v) * scale + 0.5);
    part = whole % (long long)scale;
    whole /= (long long)scale;
    if (!decimals) return (size_t)snprintf(out, 40, "%s%lld", v < 0 && whole ? "-" : "", whole);
    return (size_t)snprintf(out, 40, "%s%lld.%0*lld", v < 0 && (whole || part) ? "-" : "", whole, decimals, part);
}

/* "  loss 1.2345" */
static size_t hyb_curve_say(char *line, size_t n, const char *before, double v, int decimals, const char *after)
{
    char text[40];
    hyb_curve_fixed(v, decimals, text);
    return n + (size_t)snprintf(line + n, 48, "%s%.20s%s", before, text, after);
}

static size_t hyb_curve_say_left(char *line, size_t n, double seconds)
{
    if (seconds < 100) return hyb_curve_say(line, n, "  ", seconds, 0, " s left");
    if (seconds < 6000) return hyb_curve_say(line, n, "  ", seconds / 60, seconds < 600 ? 1 : 0, " min left");
    if (seconds < 48 * 3600.0) return hyb_curve_say(line, n, "  ", seconds / 3600, 1, " h left");
    return hyb_curve_say(line, n, "  ", seconds / 86400, 1, " days left");
}

static void hyb_curve_describe(hybrid_curve *c)
{
    const hybrid_curve_point *last = c->n_points ? &c->points[c->n_points - 1] : NULL;
    const int64_t n_steps = c->desc.n_steps;
    double seconds = 0, tokens = 0, steps = 0;
    size_t i, n;
    if (!last) return;
    n = (size_t)snprintf(c->line, 32, "step %lld", (long long)last->step);
    if (n_steps) n += (size_t)snprintf(c->line + n, 32, " of %lld", (long long)n_steps);
    n = hyb_curve_say(c->line, n, "  loss ", last->loss, 4, "");
    for (i = c->n_points; i > 0 && !(c->points[i - 1].validation - c->points[i - 1].validation == 0); i--) {}
    if (i) n = hyb_curve_say(c->line, n, "  validation ", c->points[i - 1].validation, 4, "");
    if (hyb_curve_predicts(&last->predict)) {
        n += (size_t)snprintf(c->line + n, 32, "  %s, confidence ", hyb_phase_name(last->predict.phase));
        n = hyb_curve_say(c->line, n, "", last->predict.confidence, 2, "");
    }
    for (i = c->n_points; i > c->n_before && steps < (double)HYB_CURVE_RECENT; i--, steps++) {
        seconds += c->points[i - 1].seconds;
        tokens += (double)c->points[i - 1].n_tokens;
    }
    if (!(seconds > 0)) return;
    n = hyb_curve_say(c->line, n, "  ", tokens / seconds, tokens / seconds < 10 ? 1 : 0, " tokens/s");
    if (n_steps > last->step) hyb_curve_say_left(c->line, n, seconds / steps * (double)(n_steps - last->step));
}

/* ---- the public calls -------------------------------------------------------------------------------------------- */

static void hyb_curve_free(hybrid_curve *c)
{
    hybrid_runtime *rt = c->rt;
    hyb_append_close(&c->file);
    hyb_free(rt, c->points);
    hyb_free(rt, c->title);
    hyb_free(rt, c->path);
    hyb_free(rt, c);
    hyb_runtime_release(rt);
}

static hybrid_result hyb_curve_copy(hybrid_runtime *rt, const char *text, char **copy, hybrid_error *error)
{
    const size_t n = text ? strlen(text) + 1 : 0;
    if (!text) return HYBRID_OK;
    if (!(*copy = (char *)hyb_alloc(rt, n))) return hyb_fail_memory(error, n);
    memcpy(*copy, text, n);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_curve_create,
           (hybrid_runtime *runtime, const hybrid_curve_desc *desc, hybrid_curve **curve, hybrid_error *error),
           (runtime, desc, curve, error))
{
    hybrid_curve *c;
    hybrid_runtime *rt;
    hybrid_result r;
    if (curve) *curve = NULL;
    if (!desc || !curve) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_curve_create: desc or curve is NULL");
    if (desc->steps_done < 0 || desc->n_steps < 0 || desc->n_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_curve_create: steps_done, n_steps and n_tokens may not be negative");
    if ((r = hyb_runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(c = (hybrid_curve *)hyb_calloc(rt, 1, sizeof *c))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *c);
    }
    c->rt = rt;
    c->desc = *desc;
    r = hyb_curve_copy(rt, desc->title, &c->title, error);
    if (!r) r = hyb_curve_copy(rt, desc->path, &c->path, error);
    if (!r && c->path) r = hyb_curve_open(c, error);
    c->desc.title = c->title;
    c->desc.path = c->path;
    if (r)
        hyb_curve_free(c);
    else {
        hyb_curve_describe(c);
        *curve = c;
    }
    return r;
}

HYB_BORDER_VOID(hybrid_curve_destroy, (hybrid_curve *curve), (curve))
{
    if (!curve) return;
    if (hyb_busy(curve->in_use)) {
        hyb_log(curve->rt, HYBRID_LOG_ERROR,
                "hybrid_curve_destroy: the curve is in use: its write called it again; it was not destroyed");
        return;
    }
    hyb_curve_free(curve);
}

static hybrid_result hyb_curve_enter(hybrid_curve *c, const char *function, hybrid_error *error)
{
    if (hyb_busy(c->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the curve is in use: its write called it again", function);
    c->in_use = hyb_process();
    return HYBRID_OK;
}

/* Writes a line of what the points say already. */
static hybrid_result hyb_curve_put(hybrid_curve *c, const char *line, size_t n, hybrid_error *error)
{
    bool good = true;
    hybrid_result r;
    if (c->path && (c->torn || !hyb_append_write(&c->file, line, n))) {
        c->torn = true;
        if ((r = hyb_curve_ready(c, true, error)) != HYBRID_OK) return r;
    }
    if (c->desc.write) {
        good = c->desc.write(c->desc.user, line, n);
        hyb_fp_plain();
    }
    if (good) return HYBRID_OK;
    c->torn = c->path != NULL; /* the file has a line more */
    return hyb_fail(error, HYBRID_ERROR_IO, "hybrid_curve_add: write gave false");
}

static bool hyb_curve_is_back(const hybrid_train_metrics *m) { return m->predict.event == HYBRID_PREDICT_WENT_BACK; }

static hybrid_result hyb_curve_add_back(hybrid_curve *c, int64_t step, hybrid_error *error)
{
    char line[HYB_CURVE_LINE];
    const size_t before = c->n_points;
    hybrid_curve_point *marked = hyb_curve_cut(c, step);
    const hybrid_result r = hyb_curve_put(c, line, hyb_curve_print_back(step, line), error);
    if (r && marked) marked->went_back--;
    if (r)
        c->n_points = before;
    else
        c->n_before = HYB_MIN(c->n_before, c->n_points);
    return r;
}

/* What is not finite is not known: the file could not tell. */
static void hyb_curve_of_predict(const hybrid_predict_step *from, hybrid_predict_step *p)
{
    *p = *from;
    if ((size_t)p->phase > 3) p->phase = HYBRID_PHASE_WARMUP;
    if (p->event != HYBRID_PREDICT_MOVED) p->event = HYBRID_PREDICT_NOTHING;
    if (!hyb_curve_finite(p->low) || !hyb_curve_finite(p->high) || !(p->high > 0)) p->low = p->high = 0;
    if (!hyb_curve_finite(p->confidence)) p->confidence = 0;
    if (!hyb_curve_finite(p->moved) || p->event != HYBRID_PREDICT_MOVED) p->moved = 0;
    if (!hyb_curve_finite(p->said) || !hyb_curve_finite(p->worth) || !(p->said > 0)) p->said = p->worth = 0;
}

static hybrid_result hyb_curve_add_step(hybrid_curve *c, const hybrid_train_metrics *m, const double *validation,
                                        hybrid_error *error)
{
    char line[HYB_CURVE_LINE];
    hybrid_curve_point p;
    hybrid_result r;
    memset(&p, 0, sizeof p);
    p.step = m->step;
    p.n_tokens = c->desc.n_tokens ? c->desc.n_tokens : m->n_tokens;
    p.loss = m->loss;
    p.validation = validation ? *validation : (double)NAN;
    p.rate = m->rate;
    p.grad_norm = m->grad_norm;
    p.seconds = m->seconds;
    hyb_curve_of_predict(&m->predict, &p.predict);
    if ((r = hyb_curve_push(c, &p, error)) != HYBRID_OK) return r;
    if ((r = hyb_curve_put(c, line, hyb_curve_print(&p, line), error)) != HYBRID_OK) c->n_points--;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_curve_add,
           (hybrid_curve *curve, const hybrid_train_metrics *metrics, const double *validation, hybrid_error *error),
           (curve, metrics, validation, error))
{
    hybrid_result r;
    int64_t last;
    if (!curve || !metrics)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_curve_add: %s is NULL", curve ? "metrics" : "curve");
    last = curve->n_points ? curve->points[curve->n_points - 1].step : 0;
    if (hyb_curve_is_back(metrics) ? metrics->step < 0 : metrics->step <= last)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_curve_add: step %lld comes after step %lld",
                        (long long)metrics->step, (long long)last);
    if ((r = hyb_curve_enter(curve, "hybrid_curve_add", error)) != HYBRID_OK) return r;
    if (hyb_curve_is_back(metrics))
        r = hyb_curve_add_back(curve, metrics->step, error);
    else
        r = hyb_curve_add_step(curve, metrics, validation, error);
    if (!r) hyb_curve_describe(curve);
    curve->in_use = 0;
    return r;
}

HYB_BORDER(const char *, hybrid_curve_line, (const hybrid_curve *curve), (curve)) { return curve ? curve->line : ""; }

HYB_BORDER(const hybrid_curve_point *, hybrid_curve_points, (const hybrid_curve *curve, size_t *n), (curve, n))
{
    if (n) *n = curve ? curve->n_points : 0;
    return curve ? curve->points : NULL;
}
#endif
