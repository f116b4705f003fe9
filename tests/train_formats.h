/* For test_train.c: number formats of products: losses against PyTorch with operands rounded the same way
 * (oracle/make_formats.py), the same bits whatever computes, changes between steps, what fp16 does with gradients that
 * are too large, and refusals. */
#ifndef TRAIN_FORMATS_H
#define TRAIN_FORMATS_H
#include "train_adapters.h"

static hybrid_type format_of(const char *name)
{
    return !strcmp(name, "bf16") ? HYBRID_TYPE_BF16 : !strcmp(name, "fp16") ? HYBRID_TYPE_F16 : HYBRID_TYPE_F32;
}

static char format_heard[4096];
static void format_hear(void *user, hybrid_log_level level, const char *message)
{
    HYB_UNUSED(user);
    HYB_UNUSED(level);
    strncat(format_heard, message, sizeof format_heard - strlen(format_heard) - 1);
}

/* ---- PyTorch ----------------------------------------------------------------------------------------------------- */

static hybrid_gguf *format_file;

static const float *format_tensor(const char *name, int64_t *n)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(format_file, name);
    CHECK(t, "no %s", name);
    *n = t ? (int64_t)t->ne[0] : 0;
    return t ? (const float *)t->data : NULL;
}

/* How far the gradients are from the reference's, as a part of the way from fp32's to those: what rounds one operand of
 * one form of products less, or once more, is half of the way. */
static double format_apart(const lesson *l, const lesson *fp32, const char *name, const char *format)
{
    double off = 0, way = 0;
    int p;
    for (p = 0; p < l->t->store.n_params; p++) {
        const hyb_param *param = &l->t->store.params[p];
        const float *g = l->t->store.grads + param->at, *h = fp32->t->store.grads + param->at, *want;
        double most = 1e-30, scale = l->t->format.scale;
        char key[128];
        int64_t n, i;
        snprintf(key, sizeof key, "%s.%s/%.*s", name, format, (int)param->name.size, param->name.data);
        want = format_tensor(key, &n);
        for (i = 0; i < n; i++) most = HYB_MAX(most, fabs((double)want[i]));
        for (i = 0; i < n; i++) { /* every tensor weighs as much */
            const int64_t at = i * LESSON_STEP % param->n;
            const double d = ((double)g[at] / scale - (double)want[i]) / most;
            const double w = ((double)h[at] - (double)want[i]) / most;
            off += d * d;
            way += w * w;
        }
    }
    return sqrt(off / way);
}

/* Twenty losses of a run, or ten of an adapter's, beside PyTorch's. Near, but not to the last bits of a float: sums are
 * in another order, and a value that lies in the middle between two numbers of the format is rounded the other way. */
static void format_run(const char *name, const char *kind, const char *format)
{
    const bool lora = !strcmp(kind, "lora"), is_fp32 = !strcmp(format, "fp32");
    const double within = is_fp32 ? 1e-5 : !strcmp(format, "bf16") ? 3e-3 : 4e-4;
    hybrid_trainer_desc d = lora ? pupil_desc() : optim_desc("adamw");
    const float *want;
    hybrid_train_metrics m;
    hybrid_error e;
    pupil p;
    lesson plain;
    double worst = 0, first = 0, gradients = 0;
    char key[64];
    int64_t n, i;
    snprintf(key, sizeof key, "%s.%s.%s", name, kind, format);
    want = format_tensor(key, &n);
    memset(&p, 0, sizeof p);
    memset(&plain, 0, sizeof plain);
    if (!lora && !is_fp32 && !lesson_open(&plain, name, NULL, 1, d)) return;
    d.format = format_of(format);
    if (!want || (lora ? !pupil_open(&p, name, NULL, 1, d) : !lesson_open(&p.l, name, NULL, 1, d))) return;
    TEST("number formats by PyTorch");
    for (i = 0; i < n; i++) {
        const hybrid_train_batch batch = lora ? pupil_next(&p, (int)i) : p.l.batch;
        CHECK(!hybrid_trainer_step(p.l.t, &batch, &m, &e), "%s", e.message);
        CHECK(m.format == d.format && !m.skipped, "a step in another format, or none");
        worst = HYB_MAX(worst, fabs(m.loss / (double)want[i] - 1));
        if (i || is_fp32) continue;
        first = fabs(m.loss - (double)want[0]);
        if (lora) continue;
        CHECK(!hybrid_trainer_step(plain.t, &batch, NULL, &e), "%s", e.message);
        gradients = format_apart(&p.l, &plain, name, format);
    }
    CHECK(n == (lora ? 10 : 20) && worst <= within, "%s: %d losses, %.1e apart", key, (int)n, worst);
    CHECK(first <= 1.5e-4, "%s: the first loss is %.1e apart", key, first);
    CHECK(gradients < (d.format == HYBRID_TYPE_F16 ? 0.4 : 0.25),
          "%s: the gradients are %.2f of the way from fp32's apart", key, gradients);
    printf("  %-15s losses %.1e apart, the first %.1e; gradients %.2f of the way from fp32's\n", key, worst, first,
           gradients);
    lesson_close(&plain);
    if (lora)
        pupil_close(&p);
    else
        lesson_close(&p.l);
}

/* Every product of a pass has the format, and every other product, which is Muon's, has not. */
static struct format_spy {
    const hyb_backend_ops *real;
    hybrid_type type;
    int n, n_wrong;
} format_spy;
static void format_seen(const hyb_rounding *r)
{
    format_spy.n++;
    format_spy.n_wrong += r->type != format_spy.type;
}
static void spy_rounded(hyb_backend *be, const hyb_op_matmul *op)
{
    format_seen(&op->rounding);
    format_spy.real->matmul(be, op);
}
static void spy_rounded_back_x(hyb_backend *be, const hyb_op_matmul_back_x *op)
{
    format_seen(&op->rounding);
    format_spy.real->matmul_back_x(be, op);
}
static void spy_rounded_back_w(hyb_backend *be, const hyb_op_matmul_back_w *op)
{
    format_seen(&op->rounding);
    format_spy.real->matmul_back_w(be, op);
}

static void test_format_products(const char *name, bool lora)
{
    static hyb_backend_ops ops;
    hybrid_trainer_desc d = lora ? pupil_desc() : optim_desc("muon");
    hyb_backend *be;
    hybrid_error e;
    double loss;
    pupil p;
    int n;
    d.format = HYBRID_TYPE_BF16;
    memset(&p, 0, sizeof p);
    if (lora ? !pupil_open(&p, name, NULL, 1, d) : !lesson_open(&p.l, name, NULL, 1, d)) return;
    TEST("number formats: every product");
    be = p.l.t->objective->cut.real;
    memset(&format_spy, 0, sizeof format_spy);
    format_spy.real = be->ops;
    format_spy.type = HYBRID_TYPE_BF16;
    ops = *be->ops;
    ops.matmul = spy_rounded;
    ops.matmul_back_x = spy_rounded_back_x;
    ops.matmul_back_w = spy_rounded_back_w;
    be->ops = &ops;
    CHECK(!hybrid_trainer_evaluate(p.l.t, &p.l.batch, &loss, &e), "%s", e.message);
    n = format_spy.n;
    CHECK(n > 4 && !format_spy.n_wrong, "%s: %d of %d products in another format", name, format_spy.n_wrong, n);
    CHECK(!hybrid_trainer_step(p.l.t, &p.l.batch, NULL, &e), "%s", e.message);
    n = format_spy.n - 2 * n; /* those of the way back, and Muon's */
    CHECK(n > 8, "%s: %d products of the way back", name, n);
    CHECK(lora ? !format_spy.n_wrong : format_spy.n_wrong % 15 == 0 && format_spy.n_wrong > 0,
          "%s: %d products of the way back in another format", name, format_spy.n_wrong);
    be->ops = format_spy.real;
    if (lora)
        pupil_close(&p);
    else
        lesson_close(&p.l);
}

static void test_format_losses(void)
{
    static const char *const formats[] = { "fp32", "bf16", "fp16" };
    hybrid_source source;
    hybrid_error e;
    int i;
    memset(&source, 0, sizeof source);
    source.path = "tests/oracle/data/formats.gguf";
    TEST("number formats by PyTorch");
    CHECK(!hybrid_gguf_open(NULL, &source, &format_file, &e), "%s", e.message);
    for (i = 0; i < 12; i++) format_run(i < 6 ? "gpt2" : "llama", i / 3 % 2 ? "lora" : "full", formats[i % 3]);
    hybrid_gguf_destroy(format_file);
}

/* ---- the same whatever computes ---------------------------------------------------------------------------------- */

/* Weights, gradients and states after two steps. way 4: cut into slices. */
static uint64_t format_result(const char *name, hybrid_type format, int way)
{
    hybrid_trainer_desc d = lesson_desc();
    const hyb_store *s;
    lesson l;
    hybrid_error e;
    uint64_t all[3] = { 0, 0, 0 };
    int step;
    d.format = format;
    d.recompute_every = way == 5;
    if (!lesson_open(&l, name, way == 3 ? "generic" : NULL, way < 3 ? way + 1 : 1, d)) return 0;
    for (step = 0; step < 2; step++) {
        bool done = false;
        if (way != 4) CHECK(!hybrid_trainer_step(l.t, &l.batch, NULL, &e), "%s", e.message);
        while (way == 4 && !done)
            if (hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e)) {
                CHECK(0, "%s", e.message);
                break;
            }
    }
    s = &l.t->store;
    all[0] = pupil_hash(s->weights, sizeof(float) * (size_t)s->n_values);
    all[1] = pupil_hash(s->grads, sizeof(float) * (size_t)s->n_values);
    all[2] = pupil_hash(s->states, sizeof(float) * (size_t)s->n_states);
    lesson_close(&l);
    return pupil_hash(all, sizeof all);
}

static void test_format_bits(const char *name)
{
    static const hybrid_type formats[] = { HYBRID_TYPE_F32, HYBRID_TYPE_BF16, HYBRID_TYPE_F16 };
    uint64_t one[3];
    int f, way;
    for (f = 0; f < 3; f++) {
        one[f] = format_result(name, formats[f], 0);
        TEST("number formats: the same bits");
        for (way = 1; f && way < 6; way++)
            CHECK(format_result(name, formats[f], way) == one[f], "%s in %s, way %d: other bits", name,
                  hyb_format_name(formats[f]), way);
    }
    CHECK(one[0] != one[1] && one[1] != one[2] && one[0] != one[2], "a format that changes nothing");
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static void format_copy(lesson *to, const lesson *from)
{
    const hyb_store *a = &from->t->store, *b = &to->t->store;
    memcpy(b->weights, a->weights, sizeof(float) * (size_t)a->n_values);
    memcpy(b->states, a->states, sizeof(float) * (size_t)a->n_states);
    to->t->step = from->t->step;
}
static bool format_same(const lesson *x, const lesson *y)
{
    const hyb_store *a = &x->t->store, *b = &y->t->store;
    return !memcmp(a->weights, b->weights, sizeof(float) * (size_t)a->n_values) &&
           !memcmp(a->states, b->states, sizeof(float) * (size_t)a->n_states);
}

/* fp32, bf16, fp32: what follows a change depends on the weights that are there, and on nothing else of the past. */
static void test_format_changes(const char *name)
{
    hybrid_train_metrics m;
    hybrid_error e;
    lesson a, b;
    double in_fp32 = 0, in_bf16 = 0, again = 0;
    TEST("number formats: changes");
    if (!lesson_open(&a, name, NULL, 1, lesson_desc()) || !lesson_open(&b, name, NULL, 1, lesson_desc())) return;
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e), "%s", e.message);
    CHECK(m.format == HYBRID_TYPE_F32 && !m.n_format_changes && m.loss_scale == 1, "format %d after %d changes",
          (int)m.format, (int)m.n_format_changes);
    CHECK(!hybrid_trainer_evaluate(a.t, &a.batch, &in_fp32, &e), "%s", e.message);
    CHECK(!hybrid_trainer_set_format(a.t, HYBRID_TYPE_BF16, &e), "%s", e.message);
    CHECK(!hybrid_trainer_set_format(a.t, HYBRID_TYPE_BF16, &e), "twice: %s", e.message);
    CHECK(!hybrid_trainer_evaluate(a.t, &a.batch, &in_bf16, &e), "%s", e.message);
    CHECK(in_bf16 != in_fp32 && fabs(in_bf16 - in_fp32) < 0.02, "a loss of %.9g in bf16, %.9g in fp32", in_bf16,
          in_fp32);
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e), "%s", e.message);
    CHECK(m.loss == in_bf16, "the loss of a step is %.9g, and was %.9g before it", m.loss, in_bf16);
    CHECK(m.format == HYBRID_TYPE_BF16 && m.n_format_changes == 1, "%d changes", (int)m.n_format_changes);
    CHECK(m.format_bytes == 0, "on the host a change moves nothing, but it says %llu bytes",
          (unsigned long long)m.format_bytes);
    format_copy(&b, &a);
    CHECK(!hybrid_trainer_set_format(a.t, HYBRID_TYPE_F32, &e), "%s", e.message);
    CHECK(!hybrid_trainer_evaluate(a.t, &a.batch, &again, &e) && !hybrid_trainer_evaluate(b.t, &b.batch, &in_fp32, &e),
          "%s", e.message);
    CHECK(again == in_fp32, "losses %.9g and %.9g", again, in_fp32);
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e) && !hybrid_trainer_step(b.t, &b.batch, NULL, &e), "%s",
          e.message);
    CHECK(m.n_format_changes == 2 && m.format == HYBRID_TYPE_F32, "%d changes", (int)m.n_format_changes);
    CHECK(format_same(&a, &b), "%s: fp32 after bf16 is not fp32 from these weights", name);
    lesson_close(&a);
    lesson_close(&b);
}

/* ---- fp16 -------------------------------------------------------------------------------------------------------- */

/* Another factor gives the same gradients, as long as none of them leaves the range; one that is too large is halved
 * until the step can be done. */
static void test_format_overflow(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_metrics m;
    hybrid_error e;
    lesson a, b;
    float was;
    double loss = 0;
    int n;
    d.format = HYBRID_TYPE_F16;
    d.clip = 1;
    d.ema = 0.5f;
    TEST("number formats: gradients that are too large");
    if (!lesson_open(&a, "gpt2", NULL, 1, d) || !lesson_open(&b, "gpt2", NULL, 1, d)) return;
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e) && !hybrid_trainer_step(b.t, &b.batch, NULL, &e), "%s",
          e.message);
    CHECK(m.loss_scale == 65536 && !m.skipped && !m.n_skipped, "a factor of %g", m.loss_scale);
    loss = m.grad_norm;
    a.t->format.scale = ldexp(1, 40);
    for (n = 0; n < 50; n++) {
        CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e), "%s", e.message);
        if (!m.skipped) break;
        CHECK(format_same(&a, &b), "a step that was skipped has changed something");
        CHECK(m.step == 1 && hybrid_trainer_steps(a.t) == 1, "it is step %d", (int)m.step);
        CHECK(m.n_skipped == n + 1 && m.loss_scale == ldexp(1, 40 - n), "%d were skipped, with %g", (int)m.n_skipped,
              m.loss_scale);
        CHECK(!(m.grad_norm < HUGE_VAL), "a norm of %g", m.grad_norm);
        CHECK(m.n_tokens == 2 * LESSON_T - 8 && m.tokens_per_second > 0, "%d targets", (int)m.n_tokens);
    }
    CHECK(n > 5 && n < 30 && m.step == 2 && m.n_skipped == n, "%d steps were skipped", n);
    CHECK(m.grad_norm < 10 * loss, "the norm of the gradients is %g, and was %g", m.grad_norm, loss);
    CHECK(!format_same(&a, &b), "nothing was learned");
    /* it grows, and begins anew with the format */
    a.t->format.good = HYB_FORMAT_GOOD - 1;
    a.t->format.scale = 1024;
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e) && m.loss_scale == 1024, "%s", e.message);
    CHECK(!hybrid_trainer_step(a.t, &a.batch, &m, &e) && m.loss_scale == 2048 && a.t->format.good == 1,
          "a factor of %g after %d good steps", m.loss_scale, (int)HYB_FORMAT_GOOD);
    CHECK(!hybrid_trainer_set_format(a.t, HYBRID_TYPE_BF16, &e) && a.t->format.scale == 1, "a factor without fp16");
    CHECK(!hybrid_trainer_set_format(a.t, HYBRID_TYPE_F16, &e) && a.t->format.scale == 65536, "not anew");
    /* what a smaller factor cannot help is a failure: weights that are not numbers, a loss that is not */
    b.t->format.scale = 1;
    was = b.t->store.weights[b.t->store.params[5].at];
    b.t->store.weights[b.t->store.params[5].at] = (float)NAN;
    refused(&b, HYBRID_ERROR_NUMERIC, "not done");
    b.t->format.scale = 65536;
    refused(&b, HYBRID_ERROR_NUMERIC, "not done");
    CHECK(b.t->format.scale == 65536 && !b.t->format.n_skipped, "and the factor was changed");
    b.t->store.weights[b.t->store.params[5].at] = was;
    lesson_close(&a);
    lesson_close(&b);
}

/* A rank whose gradients are infinite, though its loss is not: the factor is halved down to 1, and then it is a
 * failure. */
static bool format_spoils(void *user, float *data, size_t count, void *stream)
{
    HYB_UNUSED(user);
    HYB_UNUSED(stream);
    if (count > HYBRID_REDUCE_NUMBERS) data[0] = HUGE_VALF;
    return true;
}
static void test_format_hopeless(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_metrics m;
    hybrid_error e;
    lesson l;
    int i;
    d.format = HYBRID_TYPE_F16;
    d.all_reduce = format_spoils;
    TEST("number formats: gradients that stay too large");
    if (!lesson_open(&l, "gpt2", NULL, 1, d)) return;
    l.t->format.scale = 4;
    for (i = 0; i < 2; i++)
        CHECK(!hybrid_trainer_step(l.t, &l.batch, &m, &e) && m.skipped && l.t->format.scale == 2 - i,
              "%d: a factor of %g", i, l.t->format.scale);
    refused(&l, HYBRID_ERROR_NUMERIC, "not done");
    CHECK(l.t->format.scale == 1 && l.t->format.n_skipped == 2, "a factor of %g", l.t->format.scale);
    lesson_close(&l);
}

/* A factor that does no harm leaves no trace: gradients in fp16 with 2^16 and with 2^12 are the same but for those that
 * become subnormal; and gradients of several batches, their norm, clipping and noise are those without it. */
static void test_format_scale(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_train_batch batches[2];
    hybrid_train_metrics m, n;
    hybrid_error e;
    lesson a, b;
    int32_t ids[2 * LESSON_T], targets[2 * LESSON_T];
    int i;
    int64_t j;
    d.n_batches = 2;
    d.clip = 0.1f;
    TEST("number formats: the factor of the loss");
    if (!lesson_open(&a, "llama", NULL, 1, d)) return;
    d.format = HYBRID_TYPE_F16;
    if (!lesson_open(&b, "llama", NULL, 1, d)) return;
    for (i = 0; i < 2 * LESSON_T; i++) {
        ids[i] = (a.ids[i] + 5) % a.m->hp.n_vocab;
        targets[i] = a.targets[i] < 0 ? -1 : (a.targets[i] + 5) % a.m->hp.n_vocab;
    }
    batches[0] = batches[1] = a.batch;
    batches[1].ids = ids;
    batches[1].targets = targets;
    for (i = 0; i < 3; i++)
        CHECK(!hybrid_trainer_step(a.t, batches, &m, &e) && !hybrid_trainer_step(b.t, batches, &n, &e), "%s",
              e.message);
    CHECK(fabs(n.grad_norm / m.grad_norm - 1) < 2e-3, "norms %g and %g", n.grad_norm, m.grad_norm);
    CHECK(a.t->noise.gradient != 0 && fabs(b.t->noise.gradient / a.t->noise.gradient - 1) < 2e-2 &&
              fabs(b.t->noise.noise / a.t->noise.noise - 1) < 2e-2,
          "what noise is estimated from: %g and %g, %g and %g", b.t->noise.gradient, a.t->noise.gradient,
          b.t->noise.noise, a.t->noise.noise);
    for (i = 0; i < a.t->store.n_params; i++) {
        const hyb_param *p = &a.t->store.params[i];
        double off = 0, largest = 0;
        for (j = p->at; j < p->at + p->n; j++) {
            off = HYB_MAX(off, fabs((double)a.t->store.grads[j] - (double)b.t->store.grads[j] / 65536));
            largest = HYB_MAX(largest, fabs((double)a.t->store.grads[j]));
        }
        CHECK(off <= 1e-2 * largest, "gradients of %.*s are %g apart", (int)p->name.size, p->name.data, off / largest);
    }
    lesson_close(&a);
    lesson_close(&b);
}

/* ---- refusals, memory, the log ----------------------------------------------------------------------------------- */

static void test_format_refusals(void)
{
    hybrid_trainer_desc d = lesson_desc();
    hybrid_runtime_desc rd;
    hybrid_trainable own;
    hybrid_trainer *t = NULL;
    hybrid_error e;
    lesson l;
    bool done = false;
    double loss[2] = { 0, 1 };
    TEST("number formats: refusals");
    memset(&own, 0, sizeof own);
    memset(&rd, 0, sizeof rd);
    if (!lesson_open(&l, "gpt2", NULL, 1, d)) return;
    CHECK(!hybrid_trainer_evaluate(l.t, &l.batch, &loss[0], &e), "%s", e.message);
    CHECK(hybrid_trainer_set_format(NULL, HYBRID_TYPE_F32, &e) == HYBRID_ERROR_INVALID, "no trainer");
    CHECK(hybrid_trainer_set_format(l.t, HYBRID_TYPE_Q8_0, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "BF16"),
          "%s", e.message);
    CHECK(!hybrid_trainer_work(l.t, &l.batch, 0, &done, NULL, &e) && !done, "%s", e.message);
    CHECK(hybrid_trainer_set_format(l.t, HYBRID_TYPE_BF16, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "cancel"),
          "in the middle of a step: %s", e.message);
    hybrid_trainer_cancel(l.t);
    CHECK(!hybrid_trainer_evaluate(l.t, &l.batch, &loss[1], &e) && loss[0] == loss[1], "something was changed");
    CHECK(l.t->format.n_changes == 0, "a change that was refused was counted");
    hybrid_trainer_describe(l.t, &d);
    CHECK(d.format == HYBRID_TYPE_F32, "described as %d", (int)d.format);
    CHECK(!hybrid_trainer_set_format(l.t, HYBRID_TYPE_BF16, &e), "after that: %s", e.message);
    hybrid_trainer_describe(l.t, &d);
    CHECK(d.format == HYBRID_TYPE_BF16, "described as %d", (int)d.format);
    lesson_close(&l);
    /* the log, on a machine that has no units for it */
    rd.logger.log = format_hear;
    d = lesson_desc();
    CHECK(!hybrid_runtime_create(&rd, &l.rt, &e), "%s", e.message);
    d.model = lesson_model(l.rt, "gpt2", true);
    d.format = HYBRID_TYPE_Q4_0;
    CHECK(hybrid_trainer_create(&d, &t, &e) == HYBRID_ERROR_INVALID && !t, "%s", e.message);
    d.format = HYBRID_TYPE_BF16;
    format_heard[0] = 0;
    CHECK(!hybrid_trainer_create(&d, &t, &e), "%s", e.message);
    CHECK(strstr(format_heard, "bf16, and nothing is won"), "%s", format_heard);
    format_heard[0] = 0;
    CHECK(!hybrid_trainer_set_format(t, HYBRID_TYPE_F32, &e) && !format_heard[0], "%s", format_heard);
    CHECK(!hybrid_trainer_set_format(t, HYBRID_TYPE_F16, &e) && strstr(format_heard, "fp16, and nothing"), "%s",
          format_heard);
    hybrid_trainer_destroy(t);
    hybrid_model_destroy(d.model);
    hybrid_runtime_destroy(l.rt);
}

static void test_formats(void)
{
    PART(test_format_losses());
    PART(test_format_products("gpt2", false));
    PART(test_format_products("llama", true));
    PART(test_format_products("gemma3", false));
    PART(test_format_bits("gpt2"));
    PART(test_format_bits("gemma2"));
    PART(test_format_changes("gpt2"));
    PART(test_format_changes("llama"));
    PART(test_format_overflow());
    PART(test_format_hopeless());
    PART(test_format_scale());
    PART(test_format_refusals());
}
#endif
