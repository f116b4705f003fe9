/* predict_hindsight: what a predictor learns from the windows that it foretold, and audits, against the same numbers in
 * double precision, from the weights of a run that is moved by hand. Part of test_predictor. */

/* ---- a run that is moved by hand --------------------------------------------------------------------------------- */

/* Two trainers, one of which has a predictor; the other is moved as that one was, and what moved is known. */
typedef struct pair {
    net by_hand, moved;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    double anchor[VALUES], last[VALUES], b[VALUES]; /* as the predictor's, before the move */
    double d[VALUES], went[VALUES];                 /* of the window that ended; the move before it */
    bool had_moved, has_moved;
} pair;

static void pair_make(pair *r, hybrid_predict_mode mode)
{
    int i;
    memset(r, 0, sizeof *r);
    net_make(&r->by_hand);
    net_make(&r->moved);
    r->t = net_trainer(&r->by_hand);
    r->u = net_trainer(&r->moved);
    r->p = net_predictor(r->u, &r->moved, mode);
    for (i = 0; i < VALUES; i++) r->anchor[i] = (double)r->by_hand.weights[i];
}

static void pair_free(pair *r)
{
    hybrid_predictor_destroy(r->p);
    hybrid_trainer_destroy(r->t);
    hybrid_trainer_destroy(r->u);
}

/* A window of ten steps. Afterwards d is what true steps did in it, and went what the move before it was; b and last
 * are those that were known when it began. The weights are those after the move at its end. */
static void pair_window(pair *r)
{
    double moved[VALUES];
    hybrid_error e;
    int i, step;
    for (step = 0; step < 10; step++) {
        CHECK(!net_step(r->u, &r->moved, &r->metrics, &e), "%s", e.message);
        CHECK(!net_step(r->t, &r->by_hand, NULL, &e), "%s", e.message);
    }
    for (i = 0; i < VALUES; i++) {
        r->d[i] = (double)r->by_hand.weights[i] - r->anchor[i];
        moved[i] = (double)r->moved.weights[i] - (double)r->by_hand.weights[i];
    }
    r->had_moved = r->has_moved;
    r->has_moved = r->metrics.predict.event == HYBRID_PREDICT_MOVED;
    memcpy(r->by_hand.weights, r->moved.weights, sizeof r->by_hand.weights);
    for (i = 0; i < VALUES; i++) r->anchor[i] = (double)r->by_hand.weights[i];
    memcpy(r->went, moved, sizeof moved);
}

/* b takes up d, which becomes the last. */
static void pair_take_up(pair *r)
{
    int i;
    for (i = 0; i < VALUES; i++) {
        r->b[i] = 0.5 * r->b[i] + r->d[i];
        r->last[i] = r->d[i];
    }
}

static double dot(const double *a, const double *b, int from, int n)
{
    double sum = 0;
    int i;
    for (i = from; i < from + n; i++) sum += a[i] * b[i];
    return sum;
}

static bool close_to(double a, double b, double part) { return fabs(a - b) <= part * fabs(b) + 1e-9; }

/* ---- the window before, kept apart; what moves were in all ------------------------------------------------------- */

static void with_accumulate(hybrid_predict_desc *d) { d->accumulate = true; }

/* Moves are judged by the very windows before and after them; all of them are added up, and what was taken back. */
static void test_judge(void)
{
    pair r;
    hybrid_predict_metrics m;
    double went[VALUES] = { 0 }, all[VALUES] = { 0 }, gained = 0, path = 0, back = 0, on = 0, squares = 0;
    int window, i, n = 0;
    TEST("what moves were worth, and in all");
    more = with_accumulate;
    pair_make(&r, HYBRID_PREDICT_A);
    for (window = 0; window < STEPS / 10; window++) {
        pair_window(&r);
        if (r.had_moved) {
            const double size = sqrt(dot(went, went, 0, VALUES)), along = dot(went, r.d, 0, VALUES);
            const double worth = along / dot(r.d, r.d, 0, VALUES);
            gained += 10 * (worth > 1 ? 1 : worth < -1 ? -1 : worth);
            path += size;
            back += along < 0 ? -along / size : 0;
            on += along > 0 ? along / size : 0;
            n++;
        }
        memcpy(went, r.went, sizeof went);
        for (i = 0; i < VALUES; i++) all[i] += went[i];
        for (i = 0; i < VALUES; i++) CHECK(fabs((double)r.p->disp.last[i] - r.d[i]) < 1e-6, "last: value %d", i);
    }
    hybrid_predictor_metrics(r.p, &m);
    CHECK(n > 25 && close_to(m.gained, gained, 1e-3), "%d moves, gained %g, not %g", n, m.gained, gained);
    CHECK(close_to(m.moved_path, path, 1e-3), "path %g, not %g", m.moved_path, path);
    CHECK(back + on > 0 && fabs(m.taken_back - back / path) < 1e-3 && fabs(m.gone_on - on / path) < 1e-3,
          "taken back %g, not %g; gone on %g, not %g", m.taken_back, back / path, m.gone_on, on / path);
    for (i = 0; i < VALUES; i++) {
        squares += all[i] * all[i];
        CHECK(fabs((double)r.p->disp.added[i] - all[i]) < 1e-5, "added: value %d: %g, not %g", i,
              (double)r.p->disp.added[i], all[i]);
    }
    CHECK(close_to(m.moved_in_all, sqrt(squares), 1e-3), "in all %g, not %g", m.moved_in_all, sqrt(squares));
    CHECK(r.p->hindsight->moved.n == n && m.true_path > 0, "moves that were counted");
    pair_free(&r);
    more = NULL;
}

/* Without it, the judge's estimate is another; the weights are the same in both. */
static void test_judge_alone(void)
{
    net a, b;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_predict_metrics m, n;
    TEST("what keeping the last window changes");
    net_make(&a);
    net_make(&b);
    t = net_trainer(&a);
    u = net_trainer(&b);
    p = net_predictor(t, &a, HYBRID_PREDICT_A);
    q = net_asked(u, &b, HYBRID_PREDICT_A, with_accumulate);
    net_run(t, &a, STEPS);
    net_run(u, &b, STEPS);
    hybrid_predictor_metrics(p, &m);
    hybrid_predictor_metrics(q, &n);
    CHECK(!memcmp(a.weights, b.weights, sizeof a.weights), "other weights");
    CHECK(m.n_moves == n.n_moves && m.gained != n.gained, "gained %g and %g", m.gained, n.gained);
    CHECK(n.bytes > m.bytes, "bytes");
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* ---- coefficients that are corrected ----------------------------------------------------------------------------- */

static void with_correct(hybrid_predict_desc *d) { d->correct = true; }
static void with_residuals(hybrid_predict_desc *d) { d->residuals = 12; }

/* The weights that a run of mode A ends with. */
static void weights_of(hybrid_predict_mode mode, void (*how)(hybrid_predict_desc *d), float *weights,
                       hybrid_predict_metrics *metrics)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    net_make(&m);
    t = net_trainer(&m);
    p = net_asked(t, &m, mode, how);
    net_run(t, &m, STEPS);
    memcpy(weights, m.weights, sizeof m.weights);
    hybrid_predictor_metrics(p, metrics);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* What the corrector is taught of the family of matrix c: the coefficient of b that would have told d best. */
static void test_correct(void)
{
    const int n = OUT * MID;
    pair r;
    float without[VALUES];
    hybrid_predict_metrics m;
    double before = 0;
    int window, g, n_taught = 0, n_others = 0;
    TEST("coefficients that are corrected");
    more = with_correct;
    pair_make(&r, HYBRID_PREDICT_A);
    g = r.u->store.params[2].family;
    for (window = 0; window < STEPS / 10; window++) {
        const double usual = (double)0.7f * (double)0.5f;
        pair_window(&r);
        if (window) {
            const double best = dot(r.d, r.b, AT_C, n) / dot(r.b, r.b, AT_C, n);
            const double off = (best > 2 ? 2 : best < -1 ? -1 : best) - usual;
            const double e = off > 1 ? 1 : off < -1 ? -1 : off;
            before += (e * e - before) / (n_taught < 10 ? n_taught + 1 : 10);
            n_taught++;
            CHECK(close_to(r.p->hindsight->corrector.before[g], before, 1e-3), "window %d: taught %g, not %g", window,
                  r.p->hindsight->corrector.before[g], before);
        }
        pair_take_up(&r);
        if (r.has_moved) {
            const double c = (double)r.p->audit.made.moves[g].b, c_d = (double)r.p->audit.made.moves[g].d;
            const double ratio = c / c_d / (usual / ((double)0.7f - 1)); /* whatever both were shortened by */
            const bool trusts = hyb_hindsight_trusts(r.p->hindsight, g);
            CHECK(trusts || close_to(ratio, 1, 1e-5), "window %d: nothing was learnt, and c is %g", window, c);
            n_others += trusts && !close_to(ratio, 1, 1e-3);
        }
    }
    CHECK(n_taught > 30 && r.p->hindsight->corrector.n[g] == n_taught, "taught %d times", n_taught);
    CHECK(n_others > 5, "%d corrected coefficients", n_others);
    hybrid_predictor_metrics(r.p, &m);
    CHECK(m.n_corrected > 5 && m.corrected_error < 0.7 * m.coefficients_error, "%lld times; error %g, corrected %g",
          (long long)m.n_corrected, m.coefficients_error, m.corrected_error);
    weights_of(HYBRID_PREDICT_A, NULL, without, &m);
    CHECK(memcmp(without, r.moved.weights, sizeof without) && !m.n_corrected, "the weights are those without it");
    pair_free(&r);
    more = NULL;
}

/* The residual of a window is d less what was foretold; similar ones make the next one smaller. */
static void test_residuals(void)
{
    const int n = OUT * MID;
    pair r;
    float without[VALUES];
    hybrid_predict_metrics m;
    int window, g, i;
    TEST("residuals that are remembered");
    more = with_residuals;
    pair_make(&r, HYBRID_PREDICT_A);
    g = r.u->store.params[2].family;
    for (window = 0; window < STEPS / 10; window++) {
        const hyb_residual *newest;
        double left[VALUES] = { 0 };
        pair_window(&r);
        newest = hyb_residuals_recent(&r.p->hindsight->residuals, 0);
        for (i = AT_C; i < AT_C + n; i++)
            left[i] = r.d[i] - ((double)0.7f - 1) * r.last[i] - (double)0.7f * (double)0.5f * r.b[i];
        CHECK(!window == !newest, "window %d", window);
        if (newest) {
            const double size = sqrt(dot(left, left, AT_C, n));
            CHECK(close_to((double)newest->magnitude[g], size, 1e-3), "window %d: |R| %g, not %g", window,
                  (double)newest->magnitude[g], size);
            CHECK(close_to((double)newest->c[g][1], dot(left, r.b, AT_C, n) / dot(r.b, r.b, AT_C, n), 1e-3),
                  "window %d: along b it is %g", window, (double)newest->c[g][1]);
            CHECK(newest->step == 10 * (window + 1) && newest->horizon == r.had_moved, "window %d: its place", window);
        }
        pair_take_up(&r);
    }
    hybrid_predictor_metrics(r.p, &m);
    CHECK(m.n_residuals == 12, "%lld are kept", (long long)m.n_residuals);
    CHECK(m.remembered_error > 0 && m.remembered_error < m.residual_error, "left: %g, and by similar ones %g",
          m.residual_error, m.remembered_error);
    weights_of(HYBRID_PREDICT_A, NULL, without, &m);
    CHECK(memcmp(without, r.moved.weights, sizeof without) && !m.n_residuals, "the weights are those without them");
    pair_free(&r);
    more = NULL;
}

static void with_factors(hybrid_predict_desc *d)
{
    d->residuals = 12;
    d->compress_rank = 1;
    d->accumulate = true;
}

/* What of a window lies along no direction: factors, and what is carried from one to the next, lose nothing. */
static void test_factors(void)
{
    enum { SIZE = OUT * MID };
    pair r;
    float without[VALUES];
    hybrid_predict_metrics m;
    double rests[VALUES] = { 0 }, kept[VALUES] = { 0 }, all[VALUES] = { 0 }, worst = 0;
    int window, g, i, n = 0;
    TEST("remainders as factors");
    more = with_factors;
    pair_make(&r, HYBRID_PREDICT_A);
    g = r.u->store.params[2].family;
    for (window = 0; window < STEPS / 10; window++) {
        const hyb_residual *newest;
        const float *factors;
        const int64_t total = r.p->hindsight->residuals.total;
        pair_window(&r);
        for (i = 0; i < VALUES; i++) all[i] += r.went[i];
        newest = hyb_residuals_recent(&r.p->hindsight->residuals, 0);
        if (r.p->hindsight->residuals.total == total) {
            pair_take_up(&r);
            continue;
        }
        factors = hyb_residuals_factors(&r.p->hindsight->residuals, newest);
        CHECK(factors != NULL, "window %d has no factors", window);
        if (!factors) break;
        factors += IN + MID + 1; /* those of matrix a */
        for (i = 0; i < SIZE; i++) {
            const double c_b = (double)0.7f * (double)0.5f + (double)newest->c[g][1];
            rests[i] += r.d[AT_C + i] - ((double)0.7f - 1) * r.last[AT_C + i] - c_b * r.b[AT_C + i];
            kept[i] += (double)factors[i / MID] * (double)factors[OUT] * (double)factors[OUT + 1 + i % MID];
        }
        for (i = 0; i < SIZE; i++) {
            const double off = kept[i] + (double)r.p->hindsight->remainder.of[1].carry[i] - rests[i];
            worst = fabs(off) > worst ? fabs(off) : worst;
        }
        n++;
        pair_take_up(&r);
    }
    CHECK(n > 30 && worst < 1e-5, "%d windows, %g is lost", n, worst);
    hybrid_predictor_metrics(r.p, &m);
    CHECK(m.bytes_saved == n * (int64_t)sizeof(float) * (IN * MID - IN - MID - 1 + OUT * MID - OUT - MID - 1),
          "%lld bytes saved", (long long)m.bytes_saved);
    for (i = 0; i < VALUES; i++) CHECK(fabs((double)r.p->disp.added[i] - all[i]) < 1e-5, "added: value %d", i);
    CHECK(m.n_recalled > 0, "recalled %lld times; rest %g, and %g untold", (long long)m.n_recalled, m.rest_error,
          m.recalled_error);
    weights_of(HYBRID_PREDICT_A, with_residuals, without, &m);
    CHECK(memcmp(without, r.moved.weights, sizeof without) && !m.bytes_saved, "the weights are those without them");
    pair_free(&r);
    more = NULL;
}

/* Jumps along s are corrected, too. */
static void test_jumps(void)
{
    static void (*const hows[])(hybrid_predict_desc *) = { with_correct, with_residuals };
    float without[VALUES], with[VALUES];
    hybrid_predict_metrics m;
    int i;
    TEST("jumps that are corrected");
    weights_of(HYBRID_PREDICT_C, NULL, without, &m);
    for (i = 0; i < 2; i++) {
        weights_of(HYBRID_PREDICT_C, hows[i], with, &m);
        CHECK(m.n_moves > 0 && memcmp(without, with, sizeof without), "%d: the weights are those without it", i);
    }
}

/* Moves along each step are added up as they are made, in the pass of AdamW. */
static void test_along(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    float without[VALUES], before[VALUES], s[VALUES];
    hybrid_predict_metrics metrics;
    int i;
    TEST("moves along each step, in all");
    weights_of(HYBRID_PREDICT_A2, NULL, without, &metrics);
    net_make(&m);
    t = net_trainer(&m);
    p = net_asked(t, &m, HYBRID_PREDICT_A2, with_accumulate);
    net_run(t, &m, 54); /* steps 51 to 60 are moved along */
    CHECK(p->now.n_moves > 10 && p->now.arm == HYB_ARM_A2, "%lld moves", (long long)p->now.n_moves);
    memcpy(before, p->disp.added, sizeof before);
    memcpy(s, p->disp.s, sizeof s);
    net_run(t, &m, 55);
    for (i = 0; i < VALUES; i++) {
        const double c =
            (double)p->audit.made.moves[i < AT_B ? t->store.params[0].family : t->store.params[2].family].s;
        const double moved = i < AT_B || i >= AT_C ? c * (double)s[i] : 0;
        CHECK(c > 0 && fabs((double)p->disp.added[i] - (double)before[i] - moved) < 1e-7, "value %d", i);
    }
    net_run(t, &m, STEPS);
    CHECK(!memcmp(m.weights, without, sizeof without), "other weights");
    hybrid_predictor_metrics(p, &metrics);
    CHECK(metrics.moved_path > 0 && metrics.moved_in_all > 0 && metrics.gone_on > 0, "path %g", metrics.moved_path);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- losses that are corrected ----------------------------------------------------------------------------------- */

static void with_correct_loss(hybrid_predict_desc *d) { d->correct_loss = true; }

/* Every other window has a loss that is larger by a fifth: level and trend are late each time, the features tell. */
static void loss_run(void (*how)(hybrid_predict_desc *d), hybrid_predict_metrics *metrics, float *weights)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    net_make(&m);
    t = net_trainer(&m);
    p = net_asked(t, &m, HYBRID_PREDICT_OFF, how);
    while (hybrid_trainer_steps(t) < STEPS) {
        m.extra = hybrid_trainer_steps(t) / 10 % 2 ? 0.15 : 0;
        net_run(t, &m, hybrid_trainer_steps(t) + 1);
    }
    memcpy(weights, m.weights, sizeof m.weights);
    hybrid_predictor_metrics(p, metrics);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

static void test_correct_loss(void)
{
    hybrid_predict_metrics without, with;
    float weights[VALUES], same[VALUES];
    TEST("losses that are corrected");
    loss_run(NULL, &without, weights);
    loss_run(with_correct_loss, &with, same);
    CHECK(!memcmp(weights, same, sizeof weights), "watching only");
    CHECK(with.corrected_loss_error < 0.7 * with.loss_error && with.loss_error > 0.05, "error %g, corrected %g",
          with.loss_error, with.corrected_loss_error);
    CHECK(with.error_of_windows < 0.85 * without.error_of_windows, "of windows: %g, and without %g",
          with.error_of_windows, without.error_of_windows);
    CHECK(!without.loss_error && !without.corrected_loss_error, "numbers of what is off");
}

/* ---- audits ------------------------------------------------------------------------------------------------------ */

static void with_audits(hybrid_predict_desc *d)
{
    d->audit_every = 3;
    d->audit_steps = 16;
    d->audit_share = 1;
}

/* A run with audits; where it has been. */
typedef struct audited {
    double loss[2][16], rate[2][16];          /* of the branches of the first audit */
    float probe[2][VALUES], after[2][VALUES]; /* weights before the first and after the last probe but one */
    int64_t from, calls;
} audited;

static void audit_run(audited *seen, net *m, hybrid_trainer *t, hybrid_predictor *p)
{
    hybrid_train_metrics metrics;
    hybrid_error e;
    while (hybrid_trainer_steps(t) < STEPS) {
        const int64_t open = p->audit.open, done = p->audit.done;
        const bool first = open && !p->audit.n;
        if (first && done == 12) memcpy(seen->probe[open - 1], m->weights, sizeof m->weights);
        if (net_step(t, m, &metrics, &e)) {
            CHECK(false, "%s", e.message);
            return;
        }
        seen->calls++;
        CHECK((metrics.predict.event == HYBRID_PREDICT_AUDITED) == (open && done < 15),
              "event %d of step %d of a branch", (int)metrics.predict.event, (int)done);
        CHECK(m->at == hybrid_trainer_steps(t), "place in the data %lld after step %lld", (long long)m->at,
              (long long)hybrid_trainer_steps(t));
        if (!first) continue;
        seen->from = p->now.kept_step;
        seen->loss[open - 1][done] = metrics.loss;
        seen->rate[open - 1][done] = metrics.rate;
        if (done == 14) memcpy(seen->after[open - 1], m->weights, sizeof m->weights);
    }
}

/* What the first audit found, by the losses of its branches. */
static void check_audit(const audited *seen, const hybrid_trainer *t, net *plain, net *moved)
{
    hybrid_trainer *u = net_trainer(plain), *v = net_trainer(moved);
    hybrid_predictor *p = net_predictor(v, moved, HYBRID_PREDICT_A);
    hybrid_train_metrics metrics;
    hybrid_error e;
    int i;
    net_run(u, plain, seen->from);
    net_run(v, moved, seen->from);
    CHECK(p->now.n_moves == 3, "the third move is the first one that is tried, not the %d.", (int)p->now.n_moves);
    for (i = 0; i < 16; i++) {
        const double rate = hyb_schedule_rate(&t->desc, seen->from + i);
        const double falls = i < 8 ? 1 : i < 12 ? 1 - (i - 7) / 5.0 : 0;
        CHECK(seen->rate[0][i] == seen->rate[1][i] && close_to(seen->rate[0][i], falls * rate, 1e-12), "rate %d: %g", i,
              seen->rate[0][i]);
        if (i > 8) continue;
        CHECK(!net_step(v, moved, &metrics, &e) && metrics.loss == seen->loss[0][i], "with it: loss %d", i);
    }
    for (i = 0; i < 2; i++)
        CHECK(!memcmp(seen->probe[i], seen->after[i], sizeof seen->probe[i]), "branch %d: probes change weights", i);
    CHECK(memcmp(seen->probe[0], seen->probe[1], sizeof seen->probe[0]), "branches are the same");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(u);
    hybrid_trainer_destroy(v);
}

/* The branch without a move is a run in which nothing is moved: here of the very first move. And what an audit finds is
 * what its losses say. */
static void check_without(void)
{
    net m, plain;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_predict_desc d;
    hybrid_error e;
    double with[2] = { 0 };
    int i, k;
    net_make(&m);
    net_make(&plain);
    t = net_trainer(&m);
    u = net_trainer(&plain);
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    with_audits(&d);
    d.audit_every = 1;
    d.audit_steps = 8;
    CHECK(!hybrid_predictor_create(&d, &p, &e), "%s", e.message);
    for (k = 0; k < 2; k++) {
        double worth = 0;
        while (p->audit.open != HYB_AUDIT_WITHOUT) {
            const int64_t done = p->audit.done;
            CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
            if (p->now.n_moves && done >= 6) with[done - 6] = log(metrics.loss);
        }
        if (!k) net_run(u, &plain, p->now.kept_step);
        CHECK(k || !memcmp(m.weights, plain.weights, sizeof m.weights), "the weights before the move");
        for (i = 0; i < 8; i++) {
            CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
            if (i >= 6) worth += (log(metrics.loss) - with[i - 6]) / 2 / p->audit.slope;
            if (k || i >= 4) continue;
            CHECK(!net_step(u, &plain, NULL, &e), "%s", e.message);
            CHECK(!memcmp(m.weights, plain.weights, sizeof m.weights), "without it: weights after step %d", i);
        }
        CHECK(p->audit.n == k + 1 && !p->audit.open, "audit %d", k);
        CHECK(close_to(p->audit.worth,
                       worth > 2    ? 2
                       : worth < -2 ? -2
                                    : worth,
                       1e-9),
              "it is worth %g windows, not %g", p->audit.worth, worth);
    }
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

static void test_audits(void)
{
    net m, without, plain, moved;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_predict_metrics found, usual;
    audited seen;
    TEST("audits");
    memset(&seen, 0, sizeof seen);
    net_make(&m);
    net_make(&without);
    net_make(&plain);
    net_make(&moved);
    t = net_trainer(&m);
    u = net_trainer(&without);
    p = net_asked(t, &m, HYBRID_PREDICT_A, with_audits);
    q = net_predictor(u, &without, HYBRID_PREDICT_A);
    audit_run(&seen, &m, t, p);
    net_run(u, &without, STEPS);
    CHECK(!memcmp(m.weights, without.weights, sizeof m.weights), "the run has other weights than without audits");
    hybrid_predictor_metrics(p, &found);
    hybrid_predictor_metrics(q, &usual);
    CHECK(found.n_audits >= 3 && !usual.n_audits, "%lld audits", (long long)found.n_audits);
    CHECK(found.audit_steps == 32 * found.n_audits && seen.calls == STEPS + found.audit_steps,
          "%lld steps of audits, %lld in all", (long long)found.audit_steps, (long long)seen.calls);
    CHECK(m.gone == 2 * found.n_audits, "went back %lld times", (long long)m.gone);
    CHECK(found.n_moves == usual.n_moves && found.gained != usual.gained && found.audit_bias != 0,
          "the judge: gained %g, and without audits %g", found.gained, usual.gained);
    CHECK(fabs(found.audit_gain) <= 20 && found.audit_error > 0, "gain %g +- %g", found.audit_gain, found.audit_error);
    CHECK(p->phases.spent == STEPS + (double)found.audit_steps, "they are paid for");
    check_audit(&seen, t, &plain, &moved);
    hybrid_predictor_destroy(p);
    hybrid_predictor_destroy(q);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
    check_without();
}

/* Where moves are chosen by what they were worth, audits lead to other ones. */
static void test_audits_choose(void)
{
    float without[VALUES], with[VALUES];
    hybrid_predict_metrics m;
    TEST("moves that audits have chosen");
    weights_of(HYBRID_PREDICT_AUTO, NULL, without, &m);
    weights_of(HYBRID_PREDICT_AUTO, with_audits, with, &m);
    CHECK(m.n_audits > 0 && memcmp(without, with, sizeof with), "the weights are those without audits");
}

/* A share of the steps, and no more; never where the run would end in one. */
static void test_share(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_predict_desc d;
    hybrid_error e;
    TEST("the share of audits");
    net_make(&m);
    t = net_trainer(&m);
    d = predict_desc(t, &m, HYBRID_PREDICT_A);
    with_audits(&d);
    d.audit_every = 1;
    d.audit_share = 0.2f;
    CHECK(!hybrid_predictor_create(&d, &p, &e), "%s", e.message);
    net_run(t, &m, 159);
    CHECK(!p->audit.n && !p->audit.open, "an audit before the time for it");
    net_run(t, &m, STEPS);
    CHECK(p->audit.n == 2 && p->audit.n_steps <= 0.2 * STEPS && !p->audit.open, "%lld audits", (long long)p->audit.n);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* A branch whose losses are not finite: with the move, that is taken back; without it nothing is known. */
static void test_bad_branch(int64_t which)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    int64_t kept;
    TEST("an audit that fails");
    net_make(&m);
    t = net_trainer(&m);
    p = net_asked(t, &m, HYBRID_PREDICT_A, with_audits);
    while (p->audit.open != which) CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    kept = p->now.kept_step;
    m.bad_at = m.at + 2;
    while (p->audit.open == which) CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(metrics.predict.event == HYBRID_PREDICT_WENT_BACK && metrics.step == kept && m.at == kept, "step %lld",
          (long long)metrics.step);
    CHECK(!p->audit.open && t->rate_factor == p->now.rate_factor, "it goes on");
    CHECK(p->now.n_rollbacks == (which == HYB_AUDIT_WITH) && p->audit.n == (which == HYB_AUDIT_WITH),
          "what is known of it");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

/* ---- all at once ------------------------------------------------------------------------------------------------- */

static void with_all(hybrid_predict_desc *d)
{
    with_audits(d);
    d->audit_every = 2;
    d->audit_steps = 8;
    d->correct = d->correct_loss = d->accumulate = d->keep_last = true;
    d->residuals = 20;
    d->compress_rank = 2;
}

/* A run that goes back has what was added up as it was before the move, and what was foretold is forgotten. */
static void test_back_with_all(void)
{
    net m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_train_metrics metrics;
    hybrid_error e;
    float added[VALUES], last[VALUES];
    int64_t moves;
    TEST("going back with hindsight");
    net_make(&m);
    t = net_trainer(&m);
    p = net_asked(t, &m, HYBRID_PREDICT_A, with_all);
    p->desc.audit_every = 0;
    net_run(t, &m, 100);
    moves = p->now.n_moves;
    memcpy(added, p->disp.added, sizeof added);
    memcpy(last, p->disp.last, sizeof last);
    while (p->now.n_moves == moves) CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    CHECK(memcmp(added, p->disp.added, sizeof added), "a move is added");
    m.bad_at = m.at + 2;
    do CHECK(!net_step(t, &m, &metrics, &e), "%s", e.message);
    while (metrics.predict.event != HYBRID_PREDICT_WENT_BACK);
    CHECK(!memcmp(added, p->disp.added, sizeof added) && !memcmp(last, p->disp.last, sizeof last), "arenas");
    CHECK(!p->hindsight->open && !p->hindsight->has_moved && p->band.shift == 0, "what was foretold");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

static void test_hindsight(void)
{
    test_judge();
    test_judge_alone();
    test_correct();
    test_residuals();
    test_factors();
    test_jumps();
    test_along();
    test_correct_loss();
    test_audits();
    test_audits_choose();
    test_share();
    test_bad_branch(HYB_AUDIT_WITH);
    test_bad_branch(HYB_AUDIT_WITHOUT);
    test_back_with_all();
}
