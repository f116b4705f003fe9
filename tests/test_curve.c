/* The curve of a run: the numbers in a file that grows, is gone on with and can be cut off anywhere; the line; the
 * picture, whose numbers are looked at here, and its pixels in tests/gates/picture.py. */
#include "interface.h"
#include "meter.h"
#include <locale.h>
#ifndef _WIN32
    #include <signal.h>
    #include <sys/resource.h>
    #include <unistd.h>
#endif

static const char path[] = "build/curve.jsonl", picture_path[] = "build/curve.svg";

static void write_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(name, "wb");
    CHECK(f && fwrite(data, 1, size, f) == size, "cannot write %s", name);
    if (f) fclose(f);
}

/* Bytes that are written somewhere; the call after `until` others is refused. */
typedef struct sink {
    char *data;
    size_t n;
    int until;
    hybrid_curve *again; /* is called once more from inside */
} sink;

static bool sink_write(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (s->again) {
        hybrid_error e = { HYBRID_OK, 0, "" };
        hybrid_train_metrics m = { 999, 1, 1, 1, 1, 1 };
        CHECK(hybrid_curve_add(s->again, &m, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "in use"), "%s",
              e.message);
        CHECK(hybrid_curve_draw_path(s->again, picture_path, &e) == HYBRID_ERROR_INVALID, "drawn inside");
        hybrid_curve_destroy(s->again); /* only says so */
        s->again = NULL;
    }
    if (s->until-- <= 0) return false;
    s->data = (char *)realloc(s->data, s->n + n + 1);
    memcpy(s->data + s->n, data, n);
    s->n += n;
    s->data[s->n] = 0;
    return true;
}

static hybrid_train_metrics metrics_of(int64_t step)
{
    hybrid_train_metrics m;
    memset(&m, 0, sizeof m);
    m.step = step;
    m.n_tokens = 1000 + step;
    m.loss = 1.0 / 3 + 4 / (1 + (double)step / 7);
    m.grad_norm = 1e-9 * (double)step;
    m.rate = 3e-4 * (double)step / 200;
    m.seconds = 0.25;
    return m;
}

static hybrid_curve *open_curve(const char *at, int64_t steps_done)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_curve_desc desc;
    hybrid_curve *c;
    memset(&desc, 0, sizeof desc);
    desc.path = at;
    desc.steps_done = steps_done;
    desc.n_steps = 200;
    CHECK(!hybrid_curve_create(NULL, &desc, &c, &e), "%s", e.message);
    return c;
}

/* Steps first..last; every fifth is validated. */
static void add_steps(hybrid_curve *c, int64_t first, int64_t last)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    for (; first <= last; first++) {
        const hybrid_train_metrics m = metrics_of(first);
        const double validation = m.loss + 0.125;
        CHECK(!hybrid_curve_add(c, &m, first % 5 ? NULL : &validation, &e), "step %d: %s", (int)first, e.message);
    }
}

/* The points of steps 1..n, bit for bit. */
static void check_points(const hybrid_curve *c, int n, const char *when)
{
    size_t count, i;
    const hybrid_curve_point *p = hybrid_curve_points(c, &count);
    CHECK(count == (size_t)n, "%s: %d points, not %d", when, (int)count, n);
    for (i = 0; i < count && i < (size_t)n; i++) {
        const hybrid_train_metrics m = metrics_of((int64_t)i + 1);
        const bool looked = (i + 1) % 5 == 0;
        if (p[i].step != m.step || p[i].loss != m.loss || p[i].rate != m.rate || p[i].grad_norm != m.grad_norm ||
            p[i].seconds != m.seconds || p[i].n_tokens != m.n_tokens || looked != (p[i].validation == p[i].validation))
            break;
        if (looked && p[i].validation != m.loss + 0.125) break;
    }
    CHECK(i == (size_t)n, "%s: point %d is another", when, (int)i);
}

static void check_file(const char *expected, size_t size, const char *when)
{
    size_t n = 0;
    char *found = read_file(path, &n);
    CHECK(found && n == size && !memcmp(found, expected, n), "%s: the file has %d bytes, not the %d that it should",
          when, (int)n, (int)size);
    free(found);
}

/* ---- a run that is stopped, killed, gone on with ----------------------------------------------------------------- */

static void test_resume(void)
{
    hybrid_curve *c;
    char *whole, when[80];
    size_t size = 0, cut, ten = 0, n;
    int lines;
    TEST("going on");
    remove(path);
    c = open_curve(path, 0);
    add_steps(c, 1, 14);
    hybrid_curve_destroy(c);
    whole = read_file(path, &size);
    if (!whole) return;
    CHECK(strstr(whole, "{\"step\": 1, \"loss\": ") == whole && whole[size - 1] == '\n', "%.60s", whole);
    CHECK(strstr(whole, "\"validation\": ") && strstr(whole, "\"tokens\": 1001") &&
              strstr(whole, "\"tokens_per_second\": 4004}"),
          "%s", whole);
    for (lines = 0; lines < 10; ten++) lines += whole[ten] == '\n';
    for (cut = ten; cut <= size; cut++) { /* killed in the middle of a write; the checkpoint is of step 10 */
        snprintf(when, sizeof when, "cut at %d", (int)cut);
        write_file(path, whole, cut);
        c = open_curve(path, 10);
        check_points(c, 10, when);
        check_file(whole, ten, when);
        if (cut % 16 == 0 || cut == size) {
            add_steps(c, 11, 14);
            check_file(whole, size, when);
        }
        hybrid_curve_destroy(c);
    }
    for (cut = 0; cut < ten; cut += 37) { /* lines that were lost do not come again, others do not come twice */
        write_file(path, whole, cut);
        for (n = 0, lines = 0; n < cut; n++) lines += whole[n] == '\n';
        c = open_curve(path, 10);
        check_points(c, lines, "lines are lost");
        add_steps(c, 11, 14);
        hybrid_curve_destroy(c);
        c = open_curve(path, 14);
        hybrid_curve_points(c, &n);
        CHECK(n == (size_t)lines + 4, "%d lines, not %d", (int)n, lines + 4);
        hybrid_curve_destroy(c);
    }
    /* zeros that a machine left which lost its power; a run of an older program that went on without taking away */
    when[0] = 0;
    write_file(path, whole, ten);
    {
        FILE *f = fopen(path, "ab");
        CHECK(f && fwrite("\0\0\0\0\0\0", 1, 6, f) == 6, "zeros");
        if (f) fclose(f);
    }
    c = open_curve(path, 10);
    check_points(c, 10, "zeros");
    hybrid_curve_destroy(c);
    check_file(whole, ten, "zeros");
    {
        FILE *f = fopen(path, "ab");
        CHECK(f && fwrite(whole, 1, size, f) == size, "twice");
        if (f) fclose(f);
    }
    c = open_curve(path, 14);
    check_points(c, 14, "twice");
    hybrid_curve_destroy(c);
    check_file(whole, size, "twice");
    c = open_curve(path, 0); /* a new run */
    check_points(c, 0, "anew");
    hybrid_curve_destroy(c);
    check_file("", 0, "anew");
    free(whole);
}

static void test_foreign(void)
{
    static const char *const others[] = { "a letter\n",
                                          "a letter",
                                          "{\"messages\": []}\n",
                                          "[1, 2]\n",
                                          "{\"step\": 0, \"loss\": 1}\n",
                                          "{\"step\": 1}\n",
                                          "{\"step\": 1, \"loss\": \"low\"}\n",
                                          "{\"step\": 1.5, \"loss\": 1}\n",
                                          "\n",
                                          "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"loss\": 2.5}\nmy notes\n",
                                          "{\"step\": 1, \"loss\": 2.5} x\n",
                                          "{\"step\": 1, \"loss\": 2.5, \"phase\": \"best\"}\n",
                                          "{\"step\": 1, \"loss\": 2.5, \"phase\": 1}\n",
                                          "{\"step\": 1, \"loss\": 2.5, \"event\": \"fell\"}\n",
                                          "{\"step\": 1, \"loss\": 2.5, \"low\": \"l\"}\n",
                                          "{\"went_back_to\": -1}\n",
                                          "{\"went_back_to\": \"1\"}\n" };
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_curve_desc desc;
    hybrid_curve *c;
    size_t i, k;
    TEST("files of others");
    memset(&desc, 0, sizeof desc);
    desc.path = path;
    for (i = 0; i < sizeof others / sizeof *others; i++)
        for (k = 0; k < 2; k++) {
            const size_t n = strlen(others[i]);
            write_file(path, others[i], n);
            desc.steps_done = k ? 100 : 0;
            CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_FORMAT && !c &&
                      strstr(e.message, "move it away"),
                  "'%s' is taken: %s", others[i], e.message);
            CHECK(e.offset == (i == 9 ? 50u : 0u), "%d: byte %d", (int)i, (int)e.offset);
            check_file(others[i], n, "of others");
        }
    {
        char *most = (char *)malloc(100000);
        memset(most, ' ', 100000);
        write_file(path, most, 100000);
        CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_FORMAT, "spaces");
        check_file(most, 100000, "spaces");
        free(most);
    }
    desc.path = "/nowhere/at all/x";
    CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_IO && !c, "%s", e.message);
    desc.path = "build";
    CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_IO && !c, "%s", e.message);
    desc.path = "";
    CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_INVALID && !c, "%s", e.message);
    desc.path = NULL;
    desc.n_steps = -1;
    CHECK(hybrid_curve_create(NULL, &desc, &c, &e) == HYBRID_ERROR_INVALID && !c, "%s", e.message);
    remove(path);
}

/* ---- a run that a predictor watches ------------------------------------------------------------------------------ */

/* Of four steps one is moved after; the band is known from the third on. */
static hybrid_train_metrics watched(int64_t step)
{
    hybrid_train_metrics m = metrics_of(step);
    m.predict.phase = (hybrid_phase)(step % 4);
    m.predict.event = step % 4 == 1 ? HYBRID_PREDICT_MOVED : HYBRID_PREDICT_NOTHING;
    m.predict.moved = step % 4 == 1 ? 0.25 * (double)step : 0;
    m.predict.low = step > 2 ? m.loss - 0.1 : 0;
    m.predict.high = step > 2 ? m.loss + 0.3 : 0;
    m.predict.confidence = 0.5 + 1 / (3 + (double)step);
    m.predict.said = step % 4 == 3 ? 0.3 + 0.01 * (double)step : 0;
    m.predict.worth = step % 4 == 3 ? 7 - (double)step : 0;
    return m;
}

static void add_watched(hybrid_curve *c, int64_t first, int64_t last)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    for (; first <= last; first++) {
        const hybrid_train_metrics m = watched(first);
        CHECK(!hybrid_curve_add(c, &m, NULL, &e), "step %d: %s", (int)first, e.message);
    }
}

static hybrid_result go_back(hybrid_curve *c, int64_t step, hybrid_error *e)
{
    hybrid_train_metrics m = watched(step);
    m.loss = (double)NAN;
    m.predict.event = HYBRID_PREDICT_WENT_BACK;
    return hybrid_curve_add(c, &m, NULL, e);
}

/* Steps 1..n, of which `marked` has been gone back to so many times. */
static void check_watched(const hybrid_curve *c, int n, int64_t marked, int64_t times, const char *when)
{
    size_t count, i;
    const hybrid_curve_point *p = hybrid_curve_points(c, &count);
    CHECK(count == (size_t)n, "%s: %d points, not %d", when, (int)count, n);
    for (i = 0; i < count; i++) {
        const hybrid_train_metrics m = watched((int64_t)i + 1);
        const hybrid_predict_step *a = &p[i].predict, *b = &m.predict;
        CHECK(p[i].step == m.step && p[i].loss == m.loss && a->phase == b->phase && a->event == b->event &&
                  a->moved == b->moved && a->low == b->low && a->high == b->high && a->confidence == b->confidence &&
                  a->said == b->said && a->worth == b->worth,
              "%s: point %d is another", when, (int)i);
        CHECK(p[i].went_back == (p[i].step == marked ? times : 0), "%s: step %d was gone back to %d times", when,
              (int)p[i].step, (int)p[i].went_back);
    }
}

static void test_watched(void)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_curve *c;
    hybrid_train_metrics m = watched(21);
    char *text;
    size_t n, cut;
    int lines = 0;
    TEST("a run that is watched");
    remove(path);
    c = open_curve(path, 0);
    add_watched(c, 1, 15);
    CHECK(!strcmp(hybrid_curve_line(c),
                  "step 15 of 200  loss 1.6061  correct, confidence 0.56  4032 tokens/s  46 s left"),
          "'%s'", hybrid_curve_line(c));
    CHECK(!go_back(c, 12, &e), "%s", e.message);
    check_watched(c, 12, 12, 1, "gone back");
    CHECK(strstr(hybrid_curve_line(c), "step 12 "), "'%s'", hybrid_curve_line(c));
    CHECK(!go_back(c, 12, &e), "at once once more: %s", e.message);
    add_watched(c, 13, 20);
    check_watched(c, 20, 12, 2, "gone on");
    CHECK(go_back(c, -1, &e) == HYBRID_ERROR_INVALID, "%s", e.message);
    m.predict.low = (double)NAN;
    m.predict.high = m.predict.confidence = m.predict.worth = (double)INFINITY;
    m.predict.said = 0.5;
    CHECK(!hybrid_curve_add(c, &m, NULL, &e), "%s", e.message);
    hybrid_curve_destroy(c);
    text = read_file(path, &n);
    CHECK(text && strstr(text, ", \"phase\": \"full\", \"event\": \"moved\", \"moved\": 1.25, \"low\": ") &&
              strstr(text, "\n{\"went_back_to\": 12}\n{\"went_back_to\": 12}\n{\"step\": 13, "),
          "%s", text ? text : "");
    c = open_curve(path, 20);
    check_watched(c, 20, 12, 2, "read again");
    hybrid_curve_destroy(c);
    c = open_curve(path, 20); /* the file was made anew, without step 21 */
    check_watched(c, 20, 12, 2, "written again");
    hybrid_curve_destroy(c);
    for (cut = 1; text && cut <= n; cut++) { /* killed anywhere; the checkpoint is of step 14, and of before it went
                                              * back, as long as the run has not come to step 14 again: in line 19 */
        lines += text[cut - 1] == '\n';
        if (text[cut - 1] != '\n' && cut % 29) continue;
        write_file(path, text, cut);
        c = open_curve(path, 14);
        check_watched(c, lines < 14 ? lines : 14, 12, lines < 19 ? 0 : 2, "cut");
        hybrid_curve_destroy(c);
        c = open_curve(path, 14);
        check_watched(c, lines < 14 ? lines : 14, 12, lines < 19 ? 0 : 2, "cut, and read again");
        hybrid_curve_destroy(c);
    }
    free(text);
}

/* What is gone back to is not there; a write fails meanwhile. */
static void test_back_on_bad_days(void)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_curve_desc desc;
    hybrid_curve *c;
    size_t n;
    sink s = { NULL, 0, 5, NULL };
    TEST("going back on bad days");
    remove(path);
    memset(&desc, 0, sizeof desc);
    desc.path = path;
    desc.write = sink_write;
    desc.user = &s;
    CHECK(!hybrid_curve_create(NULL, &desc, &c, &e), "%s", e.message);
    add_watched(c, 1, 5);
    CHECK(go_back(c, 3, &e) == HYBRID_ERROR_IO, "%s", e.message);
    check_watched(c, 5, 0, 0, "a write that gave false");
    s.until = 100;
    CHECK(!go_back(c, 3, &e), "%s", e.message);
    check_watched(c, 3, 3, 1, "written");
    add_watched(c, 4, 4);
    hybrid_curve_destroy(c);
    c = open_curve(path, 4);
    check_watched(c, 4, 3, 1, "read");
    CHECK(!go_back(c, 0, &e), "%s", e.message);
    hybrid_curve_points(c, &n);
    CHECK(n == 0, "%d points before the first", (int)n);
    CHECK(!go_back(c, 7, &e), "lines that were lost: %s", e.message);
    add_watched(c, 1, 2);
    hybrid_curve_destroy(c);
    c = open_curve(path, 2);
    check_watched(c, 2, 0, 0, "begun again");
    hybrid_curve_destroy(c);
    free(s.data);
}

/* ---- writing that fails ------------------------------------------------------------------------------------------ */

static void test_failures(void)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_train_metrics m = metrics_of(1);
    hybrid_curve_desc desc;
    hybrid_curve *c;
    size_t n;
    sink s = { NULL, 0, 1, NULL };
    TEST("failures");
    memset(&desc, 0, sizeof desc);
    remove(path);
    desc.path = path;
    desc.write = sink_write;
    desc.user = &s;
    CHECK(!hybrid_curve_create(NULL, &desc, &c, &e), "%s", e.message);
    s.again = c;
    CHECK(!hybrid_curve_add(c, &m, NULL, &e), "%s", e.message);
    m.step = 1;
    CHECK(hybrid_curve_add(c, &m, NULL, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "step 1 comes after step 1"),
          "%s", e.message);
    m = metrics_of(2);
    CHECK(hybrid_curve_add(c, &m, NULL, &e) == HYBRID_ERROR_IO && strstr(e.message, "gave false"), "%s", e.message);
    hybrid_curve_points(c, &n);
    CHECK(n == 1 && strstr(hybrid_curve_line(c), "step 1 "), "%d points, '%s'", (int)n, hybrid_curve_line(c));
    s.until = 100;
    CHECK(!hybrid_curve_add(c, &m, NULL, &e), "%s", e.message);
    check_file(s.data, s.n, "a write that gave false");
    s.until = 3;
    CHECK(hybrid_curve_draw(c, sink_write, &s, &e) == HYBRID_ERROR_IO, "%s", e.message);
    CHECK(hybrid_curve_draw_path(c, "/nowhere/at all/x", &e) == HYBRID_ERROR_IO, "%s", e.message);
    hybrid_curve_destroy(c);
    free(s.data);
}

#ifndef _WIN32
/* A file that may have no more bytes, as on a full disk, and then may. */
static void test_full_disk(void)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    struct rlimit before, small;
    hybrid_curve *c;
    char *whole;
    size_t size = 0, n;
    int64_t step;
    TEST("a full disk");
    remove(path);
    c = open_curve(path, 0);
    add_steps(c, 1, 8);
    hybrid_curve_destroy(c);
    whole = read_file(path, &size);
    remove(path);
    c = open_curve(path, 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = size / 2;
    setrlimit(RLIMIT_FSIZE, &small);
    for (step = 1; step <= 8; step++) {
        const hybrid_train_metrics m = metrics_of(step);
        const double v = m.loss + 0.125;
        if (hybrid_curve_add(c, &m, step % 5 ? NULL : &v, &e)) break;
    }
    CHECK(step > 2 && step < 8 && e.result == HYBRID_ERROR_IO, "step %d: %s", (int)step, e.message);
    hybrid_curve_points(c, &n);
    CHECK(n == (size_t)step - 1, "%d points", (int)n);
    CHECK(hybrid_curve_draw_path(c, picture_path, &e) == HYBRID_ERROR_IO, "%s", e.message);
    setrlimit(RLIMIT_FSIZE, &before);
    add_steps(c, step, 8);
    check_file(whole, size, "after a full disk");
    hybrid_curve_destroy(c);
    free(whole);
}
#endif

static void test_memory(void)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    hybrid_runtime *rt;
    hybrid_runtime_desc rd;
    hybrid_curve_desc desc;
    hybrid_curve *c;
    meter m = { 0, 0 };
    char *whole;
    size_t size = 0;
    long until;
    bool done = false;
    TEST("memory");
    memset(&rd, 0, sizeof rd);
    rd.allocator.alloc = meter_alloc;
    rd.allocator.free = meter_free;
    rd.allocator.user = &m;
    memset(&desc, 0, sizeof desc);
    desc.path = path;
    desc.title = "memory";
    remove(path);
    c = open_curve(path, 0);
    add_steps(c, 1, 20);
    hybrid_curve_destroy(c);
    whole = read_file(path, &size);
    desc.steps_done = 18;
    for (until = 0; !done && until < 1000; until++) {
        hybrid_result r;
        m.until = 1000;
        CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
        m.until = until;
        write_file(path, whole, size);
        r = hybrid_curve_create(rt, &desc, &c, &e);
        CHECK(r == HYBRID_OK || (r == HYBRID_ERROR_MEMORY && !c), "%ld: %s", until, e.message);
        if (r) check_file(whole, size, "no memory");
        if (!r) {
            r = hybrid_curve_draw_path(c, picture_path, &e);
            CHECK(r == HYBRID_OK || r == HYBRID_ERROR_MEMORY, "%ld: %s", until, e.message);
            done = !r;
        }
        hybrid_curve_destroy(c);
        hybrid_runtime_destroy(rt);
        CHECK(!m.blocks, "%ld: %ld blocks are left", until, m.blocks);
    }
    CHECK(done && until > 20, "%ld allocations", until);
    free(whole);
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

static void check_line(int64_t n_steps, double loss, double seconds, const char *expected)
{
    hybrid_curve_desc desc;
    hybrid_curve *c;
    hybrid_train_metrics m = metrics_of(1);
    memset(&desc, 0, sizeof desc);
    desc.n_steps = n_steps;
    desc.n_tokens = 768;
    CHECK(!hybrid_curve_create(NULL, &desc, &c, NULL), "create");
    m.loss = loss;
    m.seconds = seconds;
    CHECK(!hybrid_curve_add(c, &m, NULL, NULL), "add");
    CHECK(!strcmp(hybrid_curve_line(c), expected), "'%s', not '%s'", hybrid_curve_line(c), expected);
    hybrid_curve_destroy(c);
}

static void test_line(void)
{
    hybrid_curve_desc desc;
    hybrid_curve *c;
    hybrid_train_metrics m = metrics_of(1);
    double v = 2.25;
    int i;
    TEST("the line");
    check_line(0, 1.23456, 0.5, "step 1  loss 1.2346  1536 tokens/s");
    check_line(1, 0.00004, 0.5, "step 1 of 1  loss 0.0000  1536 tokens/s");
    check_line(100, 10.99996, 0.5, "step 1 of 100  loss 11.0000  1536 tokens/s  50 s left");
    check_line(1001, 2, 0.25, "step 1 of 1001  loss 2.0000  3072 tokens/s  4.2 min left");
    check_line(2001, 2, 2, "step 1 of 2001  loss 2.0000  384 tokens/s  67 min left");
    check_line(20001, 2, 2, "step 1 of 20001  loss 2.0000  384 tokens/s  11.1 h left");
    check_line(2000001, 2, 200, "step 1 of 2000001  loss 2.0000  3.8 tokens/s  4629.6 days left");
    check_line(10, -1.5, 0, "step 1 of 10  loss -1.5000");
    check_line(10, (double)NAN, 0, "step 1 of 10  loss nan");
    check_line(10, 1e300, 0, "step 1 of 10  loss 1e+300");
    memset(&desc, 0, sizeof desc);
    desc.n_steps = 2000;
    CHECK(!hybrid_curve_create(NULL, &desc, &c, NULL), "create");
    CHECK(!strcmp(hybrid_curve_line(c), ""), "'%s' before the first step", hybrid_curve_line(c));
    for (i = 1; i <= 1000; i++) { /* the last 32 steps are faster than those before */
        m = metrics_of(i);
        m.n_tokens = 100;
        m.seconds = i > 968 ? 0.1 : 10;
        CHECK(!hybrid_curve_add(c, &m, i == 500 ? &v : NULL, NULL), "add");
    }
    CHECK(!strcmp(hybrid_curve_line(c),
                  "step 1000 of 2000  loss 0.3611  validation 2.2500  1000 tokens/s  1.7 min left"),
          "'%s'", hybrid_curve_line(c));
    hybrid_curve_destroy(c);
}

/* ---- the picture ------------------------------------------------------------------------------------------------- */

static char *draw(hybrid_curve *c)
{
    hybrid_error e = { HYBRID_OK, 0, "" };
    sink s = { NULL, 0, 1 << 30, NULL };
    CHECK(!hybrid_curve_draw(c, sink_write, &s, &e), "%s", e.message);
    return s.data;
}

/* Every number that a curve is made of lies in the frame; how many there are. */
static int check_frame(const char *svg, const char *class_name)
{
    char head[64];
    const char *at = svg;
    int n = 0, k;
    snprintf(head, sizeof head, "<polyline class=\"%s\" points=\"", class_name);
    while ((at = strstr(at, head)) != NULL) {
        double x, y;
        for (at += strlen(head); sscanf(at, "%lf,%lf %n", &x, &y, &k) == 2; at += k, n++)
            if (!(x >= 68 && x <= 724 && y >= 46 && y <= 384.05 && (y >= 66 || y == 46))) break;
        CHECK(*at == '"', "%s: point %d is outside, or no number: %.30s", class_name, n, at);
    }
    return n;
}

static void test_picture(void)
{
    static const int steps[] = { 0, 1, 2, 200, 328, 329, 5000 };
    size_t i, k;
    TEST("the picture");
    for (i = 0; i < sizeof steps / sizeof *steps; i++)
        for (k = 0; k < 2; k++) {
            hybrid_curve_desc desc;
            hybrid_curve *c;
            char *svg;
            int n, step;
            memset(&desc, 0, sizeof desc);
            desc.title = "a < b & c";
            desc.n_steps = k ? 0 : 1000; /* more steps than were meant, too */
            CHECK(!hybrid_curve_create(NULL, &desc, &c, NULL), "create");
            for (step = 1; step <= steps[i]; step++) {
                hybrid_train_metrics m = metrics_of(step);
                const double v = m.loss + 1;
                CHECK(!hybrid_curve_add(c, &m, step % 50 ? NULL : &v, NULL), "add");
            }
            svg = draw(c);
            CHECK(strstr(svg, "<svg ") == svg && strstr(svg, "</svg>\n") == svg + strlen(svg) - 7, "not whole");
            CHECK(strstr(svg, "a &lt; b &amp; c</text>") && !strstr(svg, "<script"), "the title");
            CHECK(strstr(svg, ">steps</text>") && (!steps[i] || strstr(svg, "nats a token")), "units");
            CHECK(!strstr(svg, "nan") && !strstr(svg, "inf"), "a number that is none");
            n = check_frame(svg, "loss");
            CHECK(n <= 2 + 330 && (steps[i] < 200 || n > 60), "%d steps: %d points", steps[i], n);
            check_frame(svg, "rate");
            n = check_frame(svg, "validation");
            CHECK(n == (steps[i] < 50 ? 0 : steps[i] / 50 + 2), "%d steps: %d validations", steps[i], n);
            CHECK((strstr(svg, "class=\"band\"") != NULL) == (steps[i] > 328), "%d steps: the band", steps[i]);
            free(svg);
            hybrid_curve_destroy(c);
        }
}

/* Losses as they come on bad days: a gap, and a picture all the same. */
static void test_odd_numbers(void)
{
    static const double losses[][4] = { { 2, 2, 2, 2 },
                                        { 0, 0, 0, 0 },
                                        { 3, (double)NAN, (double)INFINITY, 2 },
                                        { (double)NAN, (double)NAN, (double)NAN, (double)NAN },
                                        { 1e-30, 2e-30, 1e-30, 0 },
                                        { 1e30, -1e30, 1, 1 },
                                        { 1e308, -1e308, 1, 1 },
                                        { 1000000, 1000001, 1000002, 1000003 } };
    size_t i, n;
    TEST("odd numbers");
    for (i = 0; i < sizeof losses / sizeof *losses; i++) {
        hybrid_curve *c;
        char *svg, *at;
        int step, pieces = 0;
        remove(path);
        c = open_curve(path, 0);
        for (step = 0; step < 4; step++) {
            hybrid_train_metrics m = metrics_of(step + 1);
            m.loss = losses[i][step];
            m.rate = i & 1 ? 0 : (double)NAN;
            m.seconds = 0;
            CHECK(!hybrid_curve_add(c, &m, step == 2 ? &m.loss : NULL, NULL), "add");
        }
        svg = draw(c);
        check_frame(svg, "loss");
        for (at = svg; (at = strstr(at, "class=\"loss\"")) != NULL; at++) pieces++;
        CHECK(pieces == (i == 2 ? 3 : i == 3 ? 0 : 2), "%d: %d pieces", (int)i, pieces); /* one is the legend's */
        CHECK(!strstr(svg, "nan") && !strstr(svg, "inf"), "%d: a number that is none", (int)i);
        free(svg);
        hybrid_curve_destroy(c);
        c = open_curve(path, 4);
        {
            const hybrid_curve_point *p = hybrid_curve_points(c, &n);
            CHECK(n == 4, "%d of 4 lines were read again", (int)n);
            for (step = 0; step < 4 && n == 4; step++)
                CHECK(p[step].loss == losses[i][step] || losses[i][step] - losses[i][step] != 0, "%d: loss %g", (int)i,
                      p[step].loss);
        }
        hybrid_curve_destroy(c);
    }
}

/* A host whose locale has a decimal comma. */
static void test_locale(void)
{
    static const char *const commas[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "German" };
    hybrid_curve *c;
    char *plain, *svg, *line;
    size_t i, n;
    TEST("a decimal comma");
    for (i = 0; i < sizeof commas / sizeof *commas && !setlocale(LC_NUMERIC, commas[i]); i++) {}
    setlocale(LC_NUMERIC, "C");
    remove(path);
    c = open_curve(path, 0);
    add_steps(c, 1, 30);
    plain = draw(c);
    hybrid_curve_destroy(c);
    if (i < sizeof commas / sizeof *commas) setlocale(LC_NUMERIC, commas[i]);
    c = open_curve(path, 30);
    check_points(c, 30, "a comma");
    svg = draw(c);
    CHECK(!strcmp(plain, svg), "the picture is another");
    CHECK(strstr(hybrid_curve_line(c), "loss 1.09"), "'%s'", hybrid_curve_line(c));
    hybrid_curve_destroy(c);
    setlocale(LC_NUMERIC, "C");
    line = read_file(path, &n);
    CHECK(line && !strchr(line, ';') && strstr(line, "\"loss\": 3.8"), "%.80s", line ? line : "");
    free(line);
    free(plain);
    free(svg);
}

int main(void)
{
    test_resume();
    test_foreign();
    test_watched();
    test_back_on_bad_days();
    test_failures();
#ifndef _WIN32
    test_full_disk();
#endif
    test_memory();
    test_line();
    test_picture();
    test_odd_numbers();
    test_locale();
    remove(path);
    remove(picture_path);
    return test_end();
}
