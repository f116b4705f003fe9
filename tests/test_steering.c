/* A predictor that steers a run: advice that is carried out, phases by rules, what goes wrong and is mended. Seen on
 * the weights, against loops written here; and with all of it off the run of plain AdamW, bit for bit. */
#include "private.h"
#include "predict_bowl.h"

static bool same(const bowl *a, const bowl *b) { return !memcmp(a->weights, b->weights, sizeof a->weights); }

/* A loss that climbs, and goes up and down: bad health. */
static double climbs(int64_t number, double loss)
{
    HYB_UNUSED(loss);
    return number < 60 ? 1 : 1 + 0.01 * (double)(number - 60) + (number & 1 ? 0.7 : 0);
}
/* The same from the beginning, and too slowly for the monitor. */
static double worsens(int64_t number, double loss)
{
    HYB_UNUSED(loss);
    return exp(0.01 * (double)number) * (number & 1 ? 1.7 : 1);
}
static double by_turns(int64_t number) { return number & 1 ? 8 : 1; } /* gradients that are not steady */
/* That goes nowhere. */
static double stands(int64_t number, double loss)
{
    HYB_UNUSED(loss);
    return 1 + 1e-3 * dice(7, (uint64_t)number);
}
/* A walk in which the last value is the best guess. */
static double walks(int64_t number, double loss)
{
    double l = 0;
    int64_t i;
    HYB_UNUSED(loss);
    for (i = 0; i < number; i++) l += 0.05 * dice(8, (uint64_t)i / 10);
    return exp(0.3 * l);
}

/* Looking on changes nothing, whatever there is to see. */
static void test_watching(void)
{
    static double (*const losses[])(int64_t, double) = { NULL, climbs, stands, walks };
    hybrid_predict_metrics told;
    size_t i;
    int k;
    TEST("tuning that only looks on");
    for (i = 0; i < HYB_COUNT(losses); i++) {
        bowl plain, watched;
        hybrid_trainer *t;
        bowl_make(&plain);
        plain.shown = losses[i];
        t = bowl_trainer(&plain);
        bowl_run(t, &plain, 300);
        hybrid_trainer_destroy(t);
        for (k = 0; k < 2; k++) { /* that moves nothing, and with mode A */
            bowl other;
            hybrid_predict_desc d = bowl_desc(NULL, &watched, k ? HYBRID_PREDICT_A : HYBRID_PREDICT_OFF);
            bowl_make(&watched);
            watched.shown = losses[i];
            d.tune = HYBRID_TUNE_ALL;
            bowl_whole(&watched, d, 300, &told);
            CHECK(k || same(&plain, &watched), "%d: other weights", (int)i);
            CHECK(!told.n_acts[0] && !told.n_acts[1] && !told.n_acts[2] && !told.n_acts[3] && !told.n_acts[4], "acts");
            CHECK(told.health > 0 && told.health < 1, "health %g", told.health);
            if (!k) continue;
            bowl_make(&other);
            other.shown = losses[i];
            d.tune = 0;
            bowl_whole(&other, d, 300, &told);
            CHECK(same(&other, &watched), "%d: other weights of mode A", (int)i);
            CHECK(told.health == 0 && told.advised_rate == 1, "off");
        }
    }
}

/* The next step's rate is the schedule's, times what is advised; true steps come first; other weights. */
static void test_health(void)
{
    bowl m, plain;
    hybrid_predict_desc d;
    hybrid_predict_metrics told;
    hybrid_train_metrics step;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_error e;
    double advised = 1;
    int i, slower = 0;
    TEST("health that is acted upon");
    bowl_make(&plain);
    plain.shown = climbs;
    u = bowl_trainer(&plain);
    bowl_make(&m);
    m.shown = climbs;
    t = bowl_trainer(&m);
    d = bowl_desc(t, &m, HYBRID_PREDICT_OFF);
    d.tune = d.tune_acts = HYBRID_TUNE_HEALTH;
    p = own_predictor(&d);
    for (i = 0; i < 200; i++) {
        CHECK(!bowl_step(t, &m, &step, &e), "%s", e.message);
        CHECK(fabs(step.rate - (double)3e-3f * advised) < 1e-12, "step %d: rate %g, advised %g", i, step.rate, advised);
        slower += step.rate < 2e-3;
        hybrid_predictor_metrics(p, &told);
        advised = told.advised_rate;
        bowl_run(u, &plain, i + 1);
        CHECK(slower || same(&plain, &m), "step %d", i);
        CHECK(told.health < 0.5 || !told.advised_full, "health %g, %d true steps", told.health, told.advised_full);
    }
    CHECK(slower > 50 && told.n_acts[0] >= slower && told.health < 0.5, "%d steps, health %g", slower, told.health);
    CHECK(!same(&plain, &m), "a smaller rate, and the same weights");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* In bad health nothing is predicted; with the advice not carried out, it is. */
static void test_full_first(void)
{
    int k;
    int64_t moves[2];
    TEST("true steps first");
    for (k = 0; k < 2; k++) {
        bowl m;
        hybrid_predict_desc d = bowl_desc(NULL, &m, HYBRID_PREDICT_A);
        hybrid_predict_metrics told;
        bowl_make(&m);
        m.shown = worsens;
        m.length = by_turns;
        d.sigma = 50; /* the monitor is to keep out of it */
        d.tune = HYBRID_TUNE_HEALTH;
        d.tune_acts = k ? HYBRID_TUNE_HEALTH : 0;
        bowl_whole(&m, d, 300, &told);
        moves[k] = told.n_moves;
    }
    CHECK(moves[1] < moves[0] / 2, "%d moves, and %d", (int)moves[0], (int)moves[1]);
}

/* Gradients of families are shortened as adaptive clipping does it by hand, and then clipped all together. */
static void test_groups(void)
{
    int k;
    TEST("groups of gradients");
    for (k = 0; k < 2; k++) {
        bowl m, hand;
        hybrid_trainer *t, *u;
        hybrid_predictor *p;
        hybrid_predict_desc d;
        hybrid_predict_metrics told;
        double off = 0, far_off = 0;
        bowl plain;
        int step, i;
        bowl_make(&m);
        bowl_make(&hand);
        bowl_make(&plain);
        m.clip = hand.clip = plain.clip = k ? 0.01f : 0;
        hand.lambda = HYB_GROUP_LAMBDA;
        t = bowl_trainer(&m);
        u = bowl_trainer(&hand);
        d = bowl_desc(t, &m, HYBRID_PREDICT_OFF);
        d.tune = d.tune_acts = HYBRID_TUNE_GROUPS;
        p = own_predictor(&d);
        for (step = 1; step <= 100; step++) {
            bowl_run(t, &m, step);
            bowl_run(u, &hand, step);
            if (step % 10) continue;
            hand.squares[0] = squares_of(hand.weights + AT_A, N_A);
            hand.squares[1] = squares_of(hand.weights + AT_C, N_C);
        }
        hybrid_trainer_destroy(u);
        u = bowl_trainer(&plain);
        bowl_run(u, &plain, 100);
        for (i = 0; i < VALUES; i++) {
            off = HYB_MAX(off, fabs((double)m.weights[i] - (double)hand.weights[i]));
            far_off = HYB_MAX(far_off, fabs((double)m.weights[i] - (double)plain.weights[i]));
        }
        hybrid_predictor_metrics(p, &told);
        CHECK(off < 1e-6 && far_off > 1e-4, "off by %g, and %g", off, far_off);
        CHECK(told.n_acts[1] > 50 && told.shortened[0] > 0.5 && told.shortened[5] > 0 && !told.shortened[1],
              "%d times, %g", (int)told.n_acts[1], told.shortened[0]);
        hybrid_predictor_destroy(p);
        hybrid_trainer_destroy(t);
        hybrid_trainer_destroy(u);
    }
}

/* Where the loss stands still the rate is half as high again, for a hundred steps. */
static void test_plateau(void)
{
    bowl m, plain;
    hybrid_predict_desc d;
    hybrid_predict_metrics told;
    hybrid_train_metrics step;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_error e;
    int i, faster = 0;
    TEST("a plateau");
    bowl_make(&m);
    m.n_steps = 4000;
    m.shown = stands;
    plain = m;
    t = bowl_trainer(&m);
    u = bowl_trainer(&plain);
    d = bowl_desc(t, &m, HYBRID_PREDICT_OFF);
    d.tune = d.tune_acts = HYBRID_TUNE_PLATEAU;
    p = own_predictor(&d);
    for (i = 0; i < 900; i++) {
        CHECK(!bowl_step(t, &m, &step, &e), "%s", e.message);
        if (step.rate > 4.4e-3) faster++;
        CHECK(fabs(step.rate - 3e-3) < 1e-8 || fabs(step.rate - 4.5e-3) < 1e-8, "rate %g", step.rate);
    }
    bowl_run(u, &plain, 900);
    hybrid_predictor_metrics(p, &told);
    CHECK(faster == 100 && told.n_acts[2] == 100 && told.plateau == 2, "%d steps, plateau %d", faster, told.plateau);
    CHECK(!same(&m, &plain), "the same weights");
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* A loss that is foretold no better than by its last value: no jump, where there would be some. */
static void test_horizons(void)
{
    static const hybrid_predict_mode modes[] = { HYBRID_PREDICT_B, HYBRID_PREDICT_C };
    int k, i;
    TEST("horizons");
    for (i = 0; i < 2; i++) {
        int64_t moves[2];
        for (k = 0; k < 2; k++) {
            bowl m;
            hybrid_predict_desc d = bowl_desc(NULL, &m, modes[i]);
            hybrid_predict_metrics told;
            bowl_make(&m);
            m.n_steps = 1000;
            m.shown = walks;
            d.warmup_steps = 160;
            d.sigma = 50;
            d.tune = HYBRID_TUNE_HORIZONS;
            d.tune_acts = k ? HYBRID_TUNE_HORIZONS : 0;
            bowl_whole(&m, d, 700, &told);
            moves[k] = told.n_moves;
            CHECK(told.reach == 0, "%d windows", told.reach);
            CHECK(!k || told.n_acts[3] > 0, "never");
        }
        CHECK(moves[0] > 0 && moves[1] == 0, "mode %d: %d moves, and %d", (int)modes[i], (int)moves[0], (int)moves[1]);
    }
}

/* Another number of batches: the bits of a trainer that had so many from there on; and what is asked for. */
static void test_batches(void)
{
    bowl m, twin;
    hybrid_trainer *t, *u;
    hybrid_predictor *p;
    hybrid_predict_desc d;
    hybrid_predict_metrics told;
    hybrid_error e;
    int64_t asked = 0;
    TEST("batches of a step");
    bowl_make(&m);
    m.n_batches = 2;
    m.noise = 8;
    twin = m;
    t = bowl_trainer(&m);
    u = bowl_trainer(&twin);
    d = bowl_desc(t, &m, HYBRID_PREDICT_OFF);
    d.tune = d.tune_acts = HYBRID_TUNE_BATCHES;
    d.most_batches = 8;
    p = own_predictor(&d);
    CHECK(hybrid_trainer_set_batches(NULL, 2, &e) == HYBRID_ERROR_INVALID, "no trainer");
    CHECK(hybrid_trainer_set_batches(t, 0, &e) == HYBRID_ERROR_INVALID && strstr(e.message, "n_batches is 0"), "%s",
          e.message);
    while (hybrid_trainer_steps(t) < 300) {
        bowl_run(t, &m, hybrid_trainer_steps(t) + 1);
        bowl_run(u, &twin, hybrid_trainer_steps(t));
        hybrid_predictor_metrics(p, &told);
        if (told.batches == m.n_batches) continue;
        CHECK(told.batches > m.n_batches && told.batches <= 2 * m.n_batches, "%d batches", told.batches);
        asked++;
        m.n_batches = twin.n_batches = told.batches;
        CHECK(!hybrid_trainer_set_batches(t, told.batches, &e), "%s", e.message);
        u->desc.n_batches = told.batches;
    }
    CHECK(asked > 0 && told.batches == 8, "%d times, %d batches", (int)asked, told.batches);
    CHECK(same(&m, &twin) && m.at == twin.at && m.at > 600, "other weights, or batches: %d", (int)m.at);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
    hybrid_trainer_destroy(u);
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

/* Steps in a row that are predicted where confidence is high; in ADAPTIVE none where health is bad. */
static void test_rules(void)
{
    static const hybrid_predict_rule rules[] = { HYBRID_RULE_STATIC, HYBRID_RULE_ADAPTIVE };
    int k, i, sure;
    TEST("rules");
    for (sure = 0; sure < 2; sure++)
        for (i = 0; i < 2; i++)
            for (k = 0; k < 2; k++) {
                bowl m, plain;
                hybrid_predict_desc d = bowl_desc(NULL, &m, HYBRID_PREDICT_C);
                hybrid_predict_metrics told;
                hybrid_trainer *t;
                bool predicts = sure && !(k && i); /* k: a loss that worsens */
                bowl_make(&m);
                m.n_steps = 1000;
                m.shown = k ? worsens : NULL;
                m.length = k ? by_turns : NULL;
                plain = m;
                d.rule = rules[i];
                d.sigma = 50;
                d.confidence_threshold = sure ? 0.5f : 0.99f;
                d.max_predict_steps = 12;
                bowl_whole(&m, d, 500, &told);
                t = bowl_trainer(&plain);
                bowl_run(t, &plain, 500);
                hybrid_trainer_destroy(t);
                CHECK((told.steps_of_phase[HYBRID_PHASE_PREDICT] > 0) == predicts, "rule %d, loss %d, %s: %d steps",
                      (int)rules[i], k, sure ? "sure" : "unsure", (int)told.steps_of_phase[HYBRID_PHASE_PREDICT]);
                CHECK(same(&m, &plain) == !predicts, "weights");
                CHECK(told.steps_of_phase[HYBRID_PHASE_PREDICT] <= 12 * 2, "%d steps",
                      (int)told.steps_of_phase[HYBRID_PHASE_PREDICT]);
                CHECK(!predicts || told.steps_of_phase[HYBRID_PHASE_CORRECT] >= 5, "correct");
            }
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static int64_t bad_from, bad_until; /* batches of these numbers are bad */
static double bad_as;
static bool is_bad(int64_t number) { return number >= bad_from && number < bad_until; }
static double bad_loss(int64_t number, double loss) { return is_bad(number) ? bad_as : loss; }
static double bad_spike(int64_t number, double loss) { return is_bad(number) ? loss * bad_as : loss; }
static double bad_length(int64_t number) { return is_bad(number) ? bad_as : 1; }
static bool works(int64_t number) { return !is_bad(number); }

/* A run with a predictor, one step at a time. */
typedef struct mended {
    bowl m;
    hybrid_trainer *t;
    hybrid_predictor *p;
    hybrid_predict_metrics told;
    hybrid_train_metrics step;
    hybrid_error e;
} mended;

static void mended_begin(mended *r, const hybrid_predict_desc *as)
{
    hybrid_predict_desc d = *as;
    r->t = bowl_trainer(&r->m);
    d.trainer = r->t;
    d.user = &r->m;
    r->p = own_predictor(&d);
}
static hybrid_result mended_step(mended *r)
{
    const hybrid_result result = bowl_step(r->t, &r->m, &r->step, &r->e);
    hybrid_predictor_metrics(r->p, &r->told);
    return result;
}
static void mended_end(mended *r)
{
    hybrid_predictor_destroy(r->p);
    hybrid_trainer_destroy(r->t);
}

/* Batches without a finite loss are left out: the run is that of a trainer that never saw them. Four in a row are too
 * many: that step is not done, and says so. */
static void test_skip(void)
{
    mended r;
    bowl plain;
    hybrid_trainer *u;
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_OFF);
    int i, many;
    TEST("batches that are left out");
    for (many = 1; many <= 4; many++) {
        bad_from = 50;
        bad_until = 50 + many;
        bad_as = many & 1 ? HUGE_VAL : (double)NAN;
        bowl_make(&r.m);
        plain = r.m;
        r.m.shown = bad_loss;
        mended_begin(&r, &d);
        u = bowl_trainer(&plain);
        bowl_run(u, &plain, 50);
        for (i = 0; i < 50; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        for (i = 0; i < HYB_MIN(many, 3); i++) {
            CHECK(!mended_step(&r), "%s", r.e.message);
            CHECK(r.step.predict.event == HYBRID_PREDICT_WENT_BACK && r.step.step == 50 && same(&r.m, &plain),
                  "step %d", (int)r.step.step);
            CHECK(r.told.recoveries[HYBRID_RECOVERY_SKIP_BATCH] == i + 1, "%d",
                  (int)r.told.recoveries[HYBRID_RECOVERY_SKIP_BATCH]);
        }
        if (many == 4)
            CHECK(mended_step(&r) == HYBRID_ERROR_NUMERIC && strstr(r.e.message, "step 51 was not done") &&
                      r.told.recoveries[HYBRID_RECOVERY_ABORT] == 1 && same(&r.m, &plain),
                  "%s", r.e.message);
        plain.at += many;
        for (i = 0; i < 50; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        bowl_run(u, &plain, 100);
        CHECK(same(&r.m, &plain) && r.m.gone == 0 && r.m.at == 100 + many, "%d bad ones: other weights", many);
        mended_end(&r);
        hybrid_trainer_destroy(u);
    }
}

/* Without a snapshot a bad batch after a move is left out, too: there is no room for one. */
static void test_no_snapshot(void)
{
    mended r;
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    float before[VALUES];
    TEST("a snapshot that there is no room for");
    bowl_make(&r.m);
    r.m.shown = bad_loss;
    bad_from = bad_until = 0;
    bad_as = HUGE_VAL;
    d.no_snapshot = true;
    mended_begin(&r, &d);
    do CHECK(!mended_step(&r), "%s", r.e.message);
    while (!r.told.n_moves && r.step.step < 100);
    CHECK(r.told.n_moves == 1, "no move");
    bad_from = r.m.at;
    bad_until = bad_from + 1;
    memcpy(before, r.m.weights, sizeof before);
    CHECK(!mended_step(&r) && r.told.recoveries[HYBRID_RECOVERY_SKIP_BATCH] == 1 && !r.told.n_rollbacks, "%s",
          r.e.message);
    CHECK(!memcmp(before, r.m.weights, sizeof before) && !mended_step(&r) && memcmp(before, r.m.weights, sizeof before),
          "weights");
    mended_end(&r);
}

/* What rises a little makes predictions shorter; more, true steps come alone for a while; a gradient that explodes
 * brings back what was before the move. */
static void test_severity(void)
{
    static const double spikes[] = { 1.0, 1.35, 1.75 };
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    int k, i;
    TEST("what is suspicious");
    for (k = 0; k < 3; k++) {
        mended r;
        int64_t moves, shorter, full;
        bowl_make(&r.m);
        r.m.shown = bad_spike;
        r.m.n_steps = 1000;
        bad_as = spikes[k];
        bad_from = 205;
        bad_until = 206;
        mended_begin(&r, &d);
        for (i = 0; i < 205; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        shorter = r.told.recoveries[HYBRID_RECOVERY_SHORTEN];
        full = r.told.recoveries[HYBRID_RECOVERY_FORCE_FULL];
        moves = r.told.n_moves;
        r.p->phases.scale = 1;
        CHECK(!mended_step(&r), "%s", r.e.message);
        CHECK(r.told.recoveries[HYBRID_RECOVERY_SHORTEN] - shorter == (k == 1) && (r.p->phases.scale < 0.6) == (k == 1),
              "spike %d: shorter by %g", k, r.p->phases.scale);
        CHECK(r.told.recoveries[HYBRID_RECOVERY_FORCE_FULL] - full == (k == 2), "spike %d: true steps", k);
        for (i = 0; i < 14; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        CHECK((r.told.n_moves == moves) == (k == 2), "spike %d: %d moves", k, (int)(r.told.n_moves - moves));
        mended_end(&r);
    }
}

static void test_explosion(void)
{
    mended r;
    bowl twin;
    hybrid_trainer *u;
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    TEST("a gradient that explodes");
    bowl_make(&r.m);
    twin = r.m;
    r.m.length = bad_length;
    bad_from = bad_until = 0;
    bad_as = 1e6;
    mended_begin(&r, &d);
    do CHECK(!mended_step(&r), "%s", r.e.message);
    while (!r.told.n_moves && r.step.step < 100);
    u = bowl_trainer(&twin);
    bowl_run(u, &twin, r.step.step);
    CHECK(!same(&twin, &r.m), "no move");
    bad_from = r.m.at + 2;
    bad_until = bad_from + 1;
    CHECK(!mended_step(&r) && !mended_step(&r) && !mended_step(&r), "%s", r.e.message);
    CHECK(r.step.predict.event == HYBRID_PREDICT_WENT_BACK && same(&twin, &r.m) && r.m.gone == 1 &&
              r.m.at == hybrid_trainer_steps(u) && r.told.recoveries[HYBRID_RECOVERY_ROLL_BACK] == 1 &&
              r.told.n_rollbacks == 1,
          "step %d", (int)r.step.step);
    mended_end(&r);
    hybrid_trainer_destroy(u);
}

/* Its own numbers are spoilt: it begins anew, and the run goes on. */
static void test_reset(void)
{
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    int k, i;
    TEST("a predictor that has lost its wits");
    for (k = 0; k < 3; k++) {
        mended r;
        bowl_make(&r.m);
        r.m.n_steps = 1000;
        d.members = k == 2;
        mended_begin(&r, &d);
        for (i = 0; i < 95; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        if (k == 0) r.p->band.level = (double)NAN;
        if (k == 1) r.p->x[17] = INFINITY;
        if (k == 2) r.p->forecast.spread = NAN;
        if (k == 2) CHECK(r.p->foresees, "nothing is foreseen");
        CHECK(!mended_step(&r), "%s", r.e.message);
        CHECK(r.told.recoveries[HYBRID_RECOVERY_RESET_PREDICTOR] == 1 && !r.p->features.n_loss && !r.p->conformal.n &&
                  !r.p->foresees && r.p->band.level == 0 && r.told.n_moves > 0,
              "%d: %d", k, (int)r.told.recoveries[HYBRID_RECOVERY_RESET_PREDICTOR]);
        for (i = 0; i < 60; i++) CHECK(!mended_step(&r), "%s", r.e.message);
        CHECK(r.told.recoveries[HYBRID_RECOVERY_RESET_PREDICTOR] == 1 && r.p->band.sigma > 0, "it learns again");
        mended_end(&r);
    }
}

/* Predictions that fail have to be surer, where a threshold is asked; a transition that cannot be brings true steps. */
static void test_threshold(void)
{
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_C);
    int k, i;
    TEST("thresholds and transitions");
    for (k = 0; k < 2; k++) {
        mended r;
        double before;
        bowl_make(&r.m);
        r.m.n_steps = 1000;
        d.rule = k ? HYBRID_RULE_STATIC : HYBRID_RULE_AUTO;
        d.confidence_threshold = 0.4f;
        mended_begin(&r, &d);
        before = r.p->phases.threshold;
        for (i = 0; i < 9; i++) hyb_phases_observe(&r.p->phases, false, 0.1);
        for (i = 0; i < 500 && r.p->phases.n_outcomes < 10; i++) {
            r.p->phases.consecutive = 0;
            CHECK(!mended_step(&r), "%s", r.e.message);
        }
        CHECK(r.p->phases.n_outcomes == 10, "%d: no prediction was judged", k);
        CHECK(fabs(r.p->phases.threshold - before - (k ? 0.05 : 0)) < 1e-9 &&
                  r.told.recoveries[HYBRID_RECOVERY_RAISE_THRESHOLD] == k,
              "threshold %g", r.p->phases.threshold);
        hyb_phases_enter(&r.p->phases, HYB_PHASE_WARMUP, 5);
        i = (int)r.told.recoveries[HYBRID_RECOVERY_FORCE_FULL];
        CHECK(!mended_step(&r) && r.told.recoveries[HYBRID_RECOVERY_FORCE_FULL] == i + 1, "a transition");
        for (i = 0; i < 9; i++)
            CHECK(!mended_step(&r) && r.step.predict.phase == HYBRID_PHASE_FULL, "step %d after it: phase %d", i,
                  (int)r.step.predict.phase);
        mended_end(&r);
    }
}

/* A model whose function fails, and a checkpoint that cannot be written, are the caller's to hear of; weights are as
 * before, and the run goes on with the bits that it would have had. */
static void test_others(void)
{
    mended r;
    bowl twin;
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    int i;
    TEST("failures of others");
    bowl_make(&r.m);
    twin = r.m;
    r.m.works = works;
    bad_from = 73;
    bad_until = 74;
    mended_begin(&r, &d);
    for (i = 0; i < 73; i++) CHECK(!mended_step(&r), "%s", r.e.message);
    CHECK(mended_step(&r) && strlen(r.e.message) > 20 && hybrid_trainer_steps(r.t) == 73, "%s", r.e.message);
    r.m.at = 73;
    bad_from = 1000;
    CHECK(hybrid_trainer_save(r.t, "build/no/such/folder/x.ckpt", &r.e) == HYBRID_ERROR_IO, "%s", r.e.message);
    for (i = 73; i < 150; i++) CHECK(!mended_step(&r), "%s", r.e.message);
    bowl_whole(&twin, d, 150, NULL);
    CHECK(same(&twin, &r.m), "other weights");
    mended_end(&r);
}

/* ---- what phases ask of the trainer ------------------------------------------------------------------------------ */

enum { SEQS = 2, CTX = 12, ROWS = SEQS * CTX };

typedef struct pupil {
    hybrid_runtime *rt;
    hybrid_model *m;
    hybrid_trainer *t;
    hybrid_predictor *p;
} pupil;

static const hybrid_type formats[4] = { HYBRID_TYPE_F32, HYBRID_TYPE_BF16, HYBRID_TYPE_F32, HYBRID_TYPE_F16 };

static void pupil_begin(pupil *u, hybrid_predict_mode mode, bool has)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_trainer_desc td;
    hybrid_predict_desc d;
    hybrid_error e;
    memset(u, 0, sizeof *u);
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    rd.device = "cpu";
    rd.n_threads = 1;
    md.path = "tests/oracle/data/models/gpt2.gguf";
    md.trainable = true;
    CHECK(!hybrid_runtime_create(&rd, &u->rt, &e) && !hybrid_model_load(u->rt, &md, &u->m, &e), "%s", e.message);
    td.model = u->m;
    td.n_seq = SEQS;
    td.n_ctx = CTX;
    td.rate = 1e-3f;
    CHECK(!hybrid_trainer_create(&td, &u->t, &e), "%s", e.message);
    d.trainer = u->t;
    d.mode = mode;
    d.warmup_steps = 3;
    d.full_steps = 2;
    d.window = 3;
    d.correct_steps = 2;
    d.formats = has;
    d.park = has; /* on the host states stay where they are */
    memcpy(d.phase_format, formats, sizeof formats);
    CHECK(!hybrid_predictor_create(&d, &u->p, &e), "%s", e.message);
}

static void pupil_step(pupil *u, hybrid_train_metrics *metrics)
{
    int32_t ids[ROWS], targets[ROWS];
    hybrid_train_batch batch;
    hybrid_error e;
    int i;
    memset(&batch, 0, sizeof batch);
    for (i = 0; i < ROWS; i++) {
        ids[i] = (i * i * 13 + 7 * i + (int)(hybrid_trainer_steps(u->t) % 2)) % u->m->hp.n_vocab;
        targets[i] = (ids[i] * 5 + 3) % u->m->hp.n_vocab;
    }
    batch.ids = ids;
    batch.targets = targets;
    CHECK(!hybrid_trainer_step(u->t, &batch, metrics, &e), "%s", e.message);
}

static void pupil_end(pupil *u)
{
    hybrid_predictor_destroy(u->p);
    hybrid_trainer_destroy(u->t);
    hybrid_model_destroy(u->m);
    hybrid_runtime_destroy(u->rt);
}

static bool same_pupil(const pupil *a, const pupil *b)
{
    const hyb_store *s = &a->t->store, *o = &b->t->store;
    return !memcmp(s->weights, o->weights, sizeof(float) * (size_t)s->n_values) &&
           !memcmp(s->states, o->states, sizeof(float) * (size_t)s->n_states);
}

/* Each step has the format of its phase. A run that moves nothing is that of hands that set them; one that moves goes
 * on from a checkpoint in every phase with the same bits. */
static void test_formats(void)
{
    static const char path[] = "build/steering-formats.ckpt";
    pupil a, b;
    hybrid_train_metrics step;
    hybrid_error e;
    hybrid_predict_metrics told;
    int i, from, changes = 0, seen = 0;
    hybrid_type last = HYBRID_TYPE_F32;
    TEST("formats of phases");
    pupil_begin(&a, HYBRID_PREDICT_OFF, true);
    pupil_begin(&b, HYBRID_PREDICT_OFF, false);
    for (i = 0; i < 12; i++) {
        if (i == 3) CHECK(!hybrid_trainer_set_format(b.t, HYBRID_TYPE_BF16, &e), "%s", e.message);
        pupil_step(&a, &step);
        pupil_step(&b, NULL);
        CHECK(step.format == (i < 3 ? HYBRID_TYPE_F32 : HYBRID_TYPE_BF16) && step.n_format_changes == (i >= 3),
              "step %d: format %d", i, (int)step.format);
        CHECK(same_pupil(&a, &b), "step %d: other weights", i);
    }
    pupil_end(&b);
    pupil_end(&a);
    pupil_begin(&a, HYBRID_PREDICT_A, true);
    for (i = 0; i < 20; i++) {
        pupil_step(&a, &step);
        CHECK(step.format == formats[step.predict.phase], "step %d, phase %d: format %d", i, (int)step.predict.phase,
              (int)step.format);
        changes += step.format != last;
        last = step.format;
        seen |= 1 << (int)step.predict.phase;
        CHECK(step.n_format_changes == changes, "%d changes", (int)step.n_format_changes);
    }
    hybrid_predictor_metrics(a.p, &told);
    CHECK(seen == 11 && changes > 4 && told.n_moves > 2 && !told.n_parked, "%d changes, %d moves", changes,
          (int)told.n_moves);
    for (from = 1; from < 12; from += 2) {
        pupil_begin(&b, HYBRID_PREDICT_A, true);
        for (i = 0; i < from; i++) pupil_step(&b, NULL);
        CHECK(!hybrid_trainer_save(b.t, path, &e), "%s", e.message);
        pupil_end(&b);
        pupil_begin(&b, HYBRID_PREDICT_A, true);
        CHECK(!hybrid_trainer_load(b.t, path, &e), "%s", e.message);
        for (i = from; i < 20; i++) pupil_step(&b, &step);
        CHECK(same_pupil(&a, &b) && step.n_format_changes == changes, "gone on with from step %d", from);
        pupil_end(&b);
    }
    remove(path);
    pupil_end(&a);
}

/* ---- settings by name -------------------------------------------------------------------------------------------- */

/* Keys of the ancestors' configuration, as the notes on them have them. */
static const char *const ancestors[] = { "warmup_steps",
                                         "full_steps",
                                         "max_predict_steps",
                                         "confidence_threshold",
                                         "max_consecutive_predicts",
                                         "divergence_threshold",
                                         "gradient_explosion_multiplier",
                                         "gradient_vanishing_threshold",
                                         "check_interval",
                                         "predictor",
                                         "deterministic_dim",
                                         "stochastic_dim",
                                         "hidden_dim",
                                         "latent_dim",
                                         "num_categoricals",
                                         "ensemble_size",
                                         "learning_rate",
                                         "bptt_steps",
                                         "predictor_memory_budget",
                                         "collect_metrics",
                                         "correction_interval",
                                         "checkpoint_interval",
                                         "checkpoint_keep",
                                         "checkpoint_include_predictor",
                                         "auto_tuning",
                                         "max_steps",
                                         "memory_profiler",
                                         "activation_checkpointing",
                                         "checkpoint_phases",
                                         "offload_layers",
                                         "prefetch",
                                         "max_grad_norm",
                                         "num_similar",
                                         "max_correction_factor",
                                         "temporal_decay",
                                         "gradient_accumulation",
                                         "scale_lr",
                                         "normalize_gradients",
                                         "mixed_precision",
                                         "predict_precision",
                                         "optimizer_offload",
                                         "bandit_alpha",
                                         "bandit_epsilon",
                                         "validation_samples",
                                         "fallback_loss",
                                         "window",
                                         "eta",
                                         "mu",
                                         "gamma_s",
                                         "predict_until",
                                         "mode",
                                         "rho0",
                                         "audit_frac",
                                         "audit_len",
                                         "block",
                                         "rank",
                                         "seed",
                                         "deterministic",
                                         "act" };

/* A value that a kind takes, one that it does not, and what is in the field then. */
static const char *good_value(const hyb_named *key)
{
    switch (key->kind) {
    case HYB_NAMED_COUNT: return !strcmp(key->field, "members") ? "3" : strstr(key->field, "correction") ? "2" : "16";
    case HYB_NAMED_NUMBER: return !strcmp(key->field, "sigma") || !strcmp(key->field, "explodes") ? "7.5" : "0.25";
    case HYB_NAMED_SWITCH: return "1";
    case HYB_NAMED_SEED: return "9007199254740992";
    case HYB_NAMED_PARTS: return "health+batches";
    case HYB_NAMED_MODE: return "A2";
    case HYB_NAMED_RULE: return "adaptive";
    case HYB_NAMED_PLACEBO: return "mirror";
    case HYB_NAMED_FORMAT: return "bf16";
    default: return "1";
    }
}
static bool has_value(const hyb_named *key, const hybrid_predict_desc *d)
{
    const void *at = (const char *)d + key->at;
    switch (key->kind) {
    case HYB_NAMED_COUNT: return *(const int32_t *)at == (int32_t)strtol(good_value(key), NULL, 10);
    case HYB_NAMED_NUMBER: return *(const float *)at == (good_value(key)[0] == '7' ? 7.5f : 0.25f);
    case HYB_NAMED_SWITCH: return *(const bool *)at;
    case HYB_NAMED_SEED: return *(const uint64_t *)at == (uint64_t)1 << 53;
    case HYB_NAMED_PARTS: return *(const uint32_t *)at == (HYBRID_TUNE_HEALTH | HYBRID_TUNE_BATCHES);
    case HYB_NAMED_MODE: return d->mode == HYBRID_PREDICT_A2;
    case HYB_NAMED_RULE: return d->rule == HYBRID_RULE_ADAPTIVE;
    case HYB_NAMED_PLACEBO: return d->placebo == HYBRID_PLACEBO_MIRROR;
    case HYB_NAMED_FORMAT: return *(const hybrid_type *)at == HYBRID_TYPE_BF16 && d->formats;
    default: return false;
    }
}

static void test_keys(void)
{
    static const char *const bad[] = { "", "x", "1.5", "1 ", "nan", "1e99", "-1", "health+", "health+x", "B2" };
    hybrid_predict_desc d, zero;
    hybrid_error e;
    const char *name, *meaning;
    bool can;
    size_t i, k, left_out = 0;
    TEST("settings by name");
    memset(&zero, 0, sizeof zero);
    for (i = 0; (name = hybrid_predict_key(i, &can, &meaning)) != NULL; i++) {
        const hyb_named *key = hyb_named_find(name);
        size_t refused = 0, same = 0;
        for (k = 0; k < HYB_COUNT(hyb_named_all); k++) same += !strcmp(hyb_named_all[k].name, name);
        CHECK(same == 1 && key && !strcmp(key->name, name), "%s: %d times", name, (int)same);
        CHECK(strlen(meaning) >= 3 && can == (key->kind != HYB_NAMED_NONE), "%s: %s", name, meaning);
        d = zero;
        if (!can) {
            left_out++;
            CHECK(hybrid_predict_set(&d, name, "1", &e) == HYBRID_ERROR_UNSUPPORTED && strstr(e.message, name) &&
                      strstr(e.message, meaning) && strlen(meaning) > 20,
                  "%s: %s", name, e.message);
            CHECK(!memcmp(&d, &zero, sizeof d), "%s", name);
            continue;
        }
        CHECK(!hybrid_predict_set(&d, name, good_value(key), &e), "%s", e.message);
        CHECK(has_value(key, &d) && !has_value(key, &zero), "%s has another value", name);
        for (k = 0; k < HYB_COUNT(bad); k++) {
            hybrid_predict_desc before = d;
            e.message[0] = 0;
            if (!hybrid_predict_set(&d, name, bad[k], &e)) {
                d = before;
                continue;
            }
            refused++;
            CHECK(e.result == HYBRID_ERROR_INVALID && (strstr(e.message, name) || strstr(e.message, key->field)), "%s",
                  e.message);
            CHECK(!memcmp(&d, &before, sizeof d), "%s: changed by '%s'", name, bad[k]);
        }
        CHECK(refused >= 7, "%s takes %d of what it should not", name, (int)(HYB_COUNT(bad) - refused));
    }
    CHECK(left_out > 40 && !hybrid_predict_key(i + 1000, NULL, &meaning) && !meaning[0], "%d", (int)left_out);
    for (i = 0; i < HYB_COUNT(ancestors); i++) CHECK(hyb_named_find(ancestors[i]), "'%s' is not known", ancestors[i]);
    d = zero;
    CHECK(hybrid_predict_set(&d, "windw", "1", &e) == HYBRID_ERROR_INVALID && strstr(e.message, "windw"), "%s",
          e.message);
    CHECK(!hybrid_predict_set(&d, "window", "0", &e) && !d.window, "0 is the default: %s", e.message);
    CHECK(hybrid_predict_set(&d, "window", "1", &e) && strstr(e.message, "window is 1, and must be from 2"), "%s",
          e.message);
}

/* Presets change what they name, leave the caller's alone, and every one of them makes a predictor that runs. */
static void test_presets(void)
{
    const char *name, *meaning;
    hybrid_error e;
    size_t i;
    TEST("presets");
    for (i = 0; (name = hybrid_predict_preset_name(i, &meaning)) != NULL; i++) {
        bowl m;
        hybrid_predict_desc d, told;
        hybrid_trainer *t;
        hybrid_predictor *p;
        bowl_make(&m);
        t = bowl_trainer(&m);
        d = bowl_desc(t, &m, HYBRID_PREDICT_B);
        d.seed = 5;
        CHECK(!hybrid_predict_preset(name, &d, &e) && strlen(meaning) > 10, "%s: %s", name, e.message);
        CHECK(d.trainer == t && d.mark == bowl_mark && d.go_back == bowl_back && d.user == &m && d.seed == 5, "%s",
              name);
        CHECK(d.mode != HYBRID_PREDICT_B && !d.window, "%s: the rest is set anew", name);
        if (d.members) d.members = 1;
        p = own_predictor(&d);
        bowl_run(t, &m, 40);
        hybrid_predictor_describe(p, &told);
        CHECK(told.window == 20 && told.mode == d.mode, "%s", name);
        if (!strcmp(name, "aggressive"))
            CHECK(told.warmup_steps == 50 && told.full_steps == 15 && told.max_predict_steps == 80 &&
                      told.confidence_threshold == 0.75f && told.sigma == 3.5f && told.rule == HYBRID_RULE_STATIC,
                  "the ancestors'");
        hybrid_predictor_destroy(p);
        hybrid_trainer_destroy(t);
    }
    CHECK(i >= 6 && !hybrid_predict_preset_name(99, NULL), "%d presets", (int)i);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

/* Gone on with from a checkpoint in the middle of everything: the same bits. */
static void test_resume(const hybrid_predict_desc *as, double (*shown)(int64_t, double), int from, int until)
{
    static const char path[] = "build/steering.ckpt";
    bowl whole, part;
    hybrid_predict_desc d = *as;
    hybrid_trainer *t, *u;
    hybrid_predictor *p, *q;
    hybrid_predict_metrics a, b;
    hybrid_error e;
    int step;
    TEST("a run that is steered, gone on with");
    bowl_make(&whole);
    whole.shown = shown;
    part = whole;
    t = bowl_trainer(&whole);
    d.trainer = t;
    d.user = &whole;
    p = own_predictor(&d);
    bowl_run(t, &whole, until);
    hybrid_predictor_metrics(p, &a);
    for (step = from; step < until; step += 13) {
        bowl at;
        u = bowl_trainer(&part);
        d.trainer = u;
        d.user = &part;
        q = own_predictor(&d);
        if (step > from) CHECK(!hybrid_trainer_load(u, path, &e), "%s", e.message);
        bowl_run(u, &part, step);
        CHECK(!hybrid_trainer_save(u, path, &e), "%s", e.message);
        at = part;
        hybrid_predictor_destroy(q);
        hybrid_trainer_destroy(u);
        u = bowl_trainer(&at);
        d.trainer = u;
        d.user = &at;
        q = own_predictor(&d);
        CHECK(!hybrid_trainer_load(u, path, &e), "%s", e.message);
        bowl_run(u, &at, until);
        hybrid_predictor_metrics(q, &b);
        CHECK(same(&at, &whole) && a.health == b.health && !memcmp(a.n_acts, b.n_acts, sizeof a.n_acts),
              "gone on with from step %d", step);
        hybrid_predictor_destroy(q);
        hybrid_trainer_destroy(u);
    }
    remove(path);
    hybrid_predictor_destroy(p);
    hybrid_trainer_destroy(t);
}

static void test_resumes(void)
{
    hybrid_predict_desc d = bowl_desc(NULL, NULL, HYBRID_PREDICT_A);
    d.tune = d.tune_acts = HYBRID_TUNE_ALL;
    test_resume(&d, NULL, 15, 120);
    test_resume(&d, climbs, 70, 140);
    d = bowl_desc(NULL, NULL, HYBRID_PREDICT_C);
    d.rule = HYBRID_RULE_STATIC;
    d.confidence_threshold = 0.5f;
    test_resume(&d, NULL, 15, 120);
}

static void test_refused(void)
{
    bowl m;
    hybrid_trainer *t;
    hybrid_predictor *p = NULL;
    hybrid_predict_desc d;
    hybrid_error e;
    TEST("refusals");
    bowl_make(&m);
    t = bowl_trainer(&m);
#define BAD(field, value) \
    d = bowl_desc(t, &m, HYBRID_PREDICT_A); \
    d.field = value; \
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_INVALID && !p && strstr(e.message, #field), \
          #field ": %s", e.message)
    BAD(tune, 32);
    BAD(tune_acts, 1);
    BAD(rule, HYBRID_RULE_STATIC);
    BAD(rule, (hybrid_predict_rule)3);
    BAD(max_predict_steps, -1);
    BAD(confidence_threshold, 1);
    BAD(most_batches, -1);
    d = bowl_desc(t, &m, HYBRID_PREDICT_A);
    d.formats = true;
    CHECK(!hybrid_predictor_create(&d, &p, &e), "fp32, in every phase: %s", e.message);
    hybrid_predictor_destroy(p);
    p = NULL;
    d.phase_format[1] = HYBRID_TYPE_BF16;
    CHECK(hybrid_predictor_create(&d, &p, &e) == HYBRID_ERROR_UNSUPPORTED && !p, "products of its own: %s", e.message);
#undef BAD
    hybrid_trainer_destroy(t);
}

int main(void)
{
    test_watching();
    test_health();
    test_full_first();
    test_groups();
    test_plateau();
    test_horizons();
    test_batches();
    test_rules();
    test_skip();
    test_no_snapshot();
    test_severity();
    test_explosion();
    test_reset();
    test_threshold();
    test_others();
    test_formats();
    test_resumes();
    test_keys();
    test_presets();
    test_refused();
    return test_end();
}
