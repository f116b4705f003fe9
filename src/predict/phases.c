/* predict/phases: which phase the next step belongs to, and for how long. What a step of a phase does is not known
 * here.
 *
 * Three rules say when and for how long it is predicted. STATIC: when confidence is over a threshold, the ancestors'
 * rule. ADAPTIVE: the same, by how healthy the run is. AUTO: when an arm is chosen that is not "off". Whatever the
 * rule, there are times when nothing is predicted, or nothing that skips true steps (hyb_phases_legal). */
#ifndef HYB_PREDICT_PHASES_C
#define HYB_PREDICT_PHASES_C
#include "phase.c"

/* ---- what may be predicted --------------------------------------------------------------------------------------- */

/* The arms that are allowed now; the one that is off always is. */
static uint32_t hyb_phases_legal(const hyb_phases *p, const hyb_phase_look *look)
{
    const double u = hyb_phases_budget(p);
    const bool can = (p->phase == HYB_PHASE_FULL || p->phase == HYB_PHASE_CORRECT) && !p->forced &&
                     look->severity < HYB_WARNING && !look->rate_jumped && p->since_jump >= p->desc.full_steps &&
                     u >= HYB_PREDICT_FROM;
    const bool can_leap = can && u <= p->desc.predict_until && look->rate_drift <= HYB_JUMP_DRIFT &&
                          p->spent - p->last_leap >= HYB_JUMP_GAP;
    uint32_t ways = 1u << HYB_WAY_OFF;
    if (can) ways |= 1u << HYB_WAY_A | 1u << HYB_WAY_A2;
    if (can_leap) ways |= 1u << HYB_WAY_B | 1u << HYB_WAY_C;
    return hyb_arms_of(ways);
}

/* The ancestors' length of a prediction: shorter when less sure, and after each prediction. */
static int64_t hyb_phases_static_length(const hyb_phases *p, double confidence)
{
    const double much = floor((double)p->desc.max_predict * confidence * confidence);
    const double n = floor(much * (1 - HYB_MIN(0.1 * (double)p->consecutive, 0.5)));
    return HYB_MIN(HYB_MAX((int64_t)n, (int64_t)10), p->desc.max_predict);
}

static int64_t hyb_phases_adaptive_length(const hyb_phases *p, const hyb_phase_look *look)
{
    const double max = (double)p->desc.max_predict, h = look->health;
    const double base = h >= 0.85 ? max : h >= 0.7 ? 0.8 * max : h >= 0.5 ? 0.5 * max : h >= 0.3 ? 2 : 1;
    return (int64_t)hyb_clamp(floor(base * look->confidence * hyb_clamp(look->stability, 0.0, 1.0)), 1.0, max);
}

static double hyb_phases_mean_error(const hyb_phases *p, int last)
{
    double y[HYB_PHASE_ERRORS], sum = 0;
    const int n = hyb_ring_last(p->errors, HYB_PHASE_ERRORS, p->n_errors, last, y);
    int i;
    for (i = 0; i < n; i++) sum += y[i];
    return n ? sum / n : 0;
}

/* At least n true steps, until a window ends. */
static int64_t hyb_phases_to_window(const hyb_phases *p, int64_t n)
{
    const int64_t over = (p->in_window + n) % p->desc.window;
    return p->desc.rule == HYB_RULE_AUTO && over ? n + p->desc.window - over : n;
}

/* Of Full between predictions: ADAPTIVE wants more of it after bad ones, and less after ten good ones. */
static int64_t hyb_phases_full_length(const hyb_phases *p)
{
    const int64_t more = hyb_phases_mean_error(p, 10) > HYB_ERROR_LOW ? 10 : 0;
    if (p->desc.rule == HYB_RULE_AUTO) return hyb_phases_to_window(p, 1);
    if (p->desc.rule == HYB_RULE_ADAPTIVE)
        return p->low_streak >= 10 ? p->desc.full_steps : p->desc.full_steps + 10 + more;
    return p->desc.full_steps;
}

/* After a jump more true steps, a quarter of it, until the directions that relax quickly have done so. */
static int64_t hyb_phases_correct_length(const hyb_phases *p)
{
    const hyb_arm *arm = &hyb_arms[p->arm];
    if (p->desc.rule != HYB_RULE_AUTO) return p->desc.correct_steps;
    if (arm->way == HYB_WAY_B) return (int64_t)hyb_clamp(arm->horizon / 4.0, 4.0, 32.0);
    return HYB_MIN(p->desc.correct_steps, p->desc.window);
}

/* ---- decisions --------------------------------------------------------------------------------------------------- */

/* Whether it is time to predict, and how many steps. */
static int64_t hyb_phases_wanted(const hyb_phases *p, const hyb_phase_look *look, const char **why)
{
    const hyb_arm *arm = &hyb_arms[HYB_MIN(HYB_MAX(look->arm, 0), HYB_N_ARMS - 1)];
    if (look->arm < 0 || look->arm >= HYB_N_ARMS || arm->way == HYB_WAY_OFF) {
        *why = "predictions are off";
        return 0;
    }
    if (!(hyb_phases_legal(p, look) >> look->arm & 1)) {
        *why = "it is not the time for this prediction";
        return 0;
    }
    if (look->most < 0) {
        *why = "predictions are no better than the last value";
        return 0;
    }
    if (p->desc.rule == HYB_RULE_AUTO) {
        *why = "it is expected to be worth more than it costs";
        return arm->way == HYB_WAY_A2 ? p->desc.window : arm->way == HYB_WAY_C ? arm->horizon : 1;
    }
    if (!(look->confidence >= p->threshold)) {
        *why = "confidence is too low";
        return 0;
    }
    if (p->consecutive >= p->desc.max_consecutive) {
        *why = "there were enough predictions in a row, or one that failed";
        return 0;
    }
    if (p->desc.rule == HYB_RULE_ADAPTIVE && !(look->health >= 0.5)) {
        *why = "the run is not healthy";
        return 0;
    }
    *why = "confidence is high";
    return p->desc.rule == HYB_RULE_STATIC ? hyb_phases_static_length(p, HYB_MIN(look->confidence, 1.0))
                                           : hyb_phases_adaptive_length(p, look);
}

static void hyb_phases_predict(hyb_phases *p, const hyb_phase_look *look, int64_t length)
{
    const hyb_arm *arm = &hyb_arms[look->arm];
    const bool shorter = p->desc.rule != HYB_RULE_AUTO || arm->interval;
    p->lengthen = look->lengthen > 0 ? look->lengthen : 1;
    if (shorter) length = HYB_MAX((int64_t)((double)length * p->scale * p->lengthen), (int64_t)1);
    if (shorter && look->most > 0) length = HYB_MIN(length, look->most);
    hyb_phases_enter(p, HYB_PHASE_PREDICT, length);
    p->arm = look->arm;
    p->consecutive++;
    if (arm->way >= HYB_WAY_B) p->last_leap = p->spent;
}

/* The phase is over, or Full was asked for: what comes next. In AUTO it is decided where a window ends. */
static const char *hyb_phases_decide(hyb_phases *p, const hyb_phase_look *look)
{
    const char *why = "";
    int64_t length;
    if (p->forced) {
        hyb_phases_enter(p, HYB_PHASE_FULL, hyb_phases_to_window(p, p->forced));
        p->consecutive = p->forced = 0;
        return "true steps were asked for";
    }
    if (p->phase == HYB_PHASE_WARMUP) {
        hyb_phases_enter(p, HYB_PHASE_FULL, hyb_phases_to_window(p, p->desc.full_steps));
        return "the warm-up is over";
    }
    if (p->phase == HYB_PHASE_PREDICT) {
        hyb_phases_enter(p, HYB_PHASE_CORRECT, hyb_phases_correct_length(p));
        return "real gradients correct the prediction";
    }
    if (p->desc.rule == HYB_RULE_AUTO && p->in_window) {
        hyb_phases_enter(p, HYB_PHASE_FULL, hyb_phases_to_window(p, 1));
        return "the window is not over yet";
    }
    length = hyb_phases_wanted(p, look, &why);
    if (length) {
        hyb_phases_predict(p, look, length);
    } else {
        hyb_phases_enter(p, HYB_PHASE_FULL, hyb_phases_full_length(p));
        p->consecutive = 0;
    }
    return why;
}

/* Whether the phase goes on with another step. A prediction does not while something is wrong. */
static bool hyb_phases_goes_on(const hyb_phases *p, const hyb_phase_look *look)
{
    if (p->phase == HYB_PHASE_PREDICT && (look->severity >= HYB_WARNING || look->rate_jumped)) return false;
    return !p->forced && p->step < p->length;
}

/* Whether the arm of look will be asked for: nothing else was, and, in AUTO, a window ends here. */
static bool hyb_phases_chooses(const hyb_phases *p, const hyb_phase_look *look)
{
    return !hyb_phases_goes_on(p, look) && !p->forced && (p->desc.rule != HYB_RULE_AUTO || !p->in_window) &&
           (p->phase == HYB_PHASE_FULL || p->phase == HYB_PHASE_CORRECT);
}

/* The phase of the coming step, which counts as taken. */
static hyb_phase_order hyb_phases_next(hyb_phases *p, const hyb_phase_look *look)
{
    hyb_phase_order order;
    int64_t interval;
    p->since_jump = look->rate_jumped ? 0 : p->since_jump + 1;
    order.why = "";
    if (!hyb_phases_goes_on(p, look)) order.why = hyb_phases_decide(p, look);
    interval = p->desc.rule == HYB_RULE_AUTO ? hyb_arms[p->arm].interval : 0;
    order.phase = (hyb_phase)p->phase;
    order.begins = p->step == 0;
    order.step = (int32_t)p->step++;
    order.is_true = p->phase != HYB_PHASE_PREDICT || (interval && p->step % interval == 0);
    if (order.is_true) p->in_window = (p->in_window + 1) % p->desc.window;
    order.ends_window = order.is_true && p->in_window == 0;
    order.length = (int32_t)p->length;
    order.arm = (int32_t)p->arm;
    order.scale = p->desc.rule == HYB_RULE_AUTO && !interval ? p->scale * p->lengthen : 1;
    return order;
}

/* ---- what others have to say ------------------------------------------------------------------------------------- */

/* A prediction and its correction are over. error: |l - predicted|. */
static void hyb_phases_observe(hyb_phases *p, bool good, double error)
{
    p->good[p->n_outcomes++ % HYB_OUTCOMES] = good;
    if (hyb_is_finite(error)) p->errors[p->n_errors++ % HYB_PHASE_ERRORS] = fabs(error);
    p->low_streak = good && fabs(error) <= HYB_ERROR_LOW ? p->low_streak + 1 : 0;
    if (good)
        p->scale = HYB_MIN(p->scale * 1.1, 1.0);
    else
        p->consecutive = p->desc.max_consecutive;
}

/* Part of the last predictions that were good; 0.5 as long as there are none. */
static double hyb_phases_success(const hyb_phases *p)
{
    const int n = (int)HYB_MIN(p->n_outcomes, (int64_t)HYB_OUTCOMES);
    int i, good = 0;
    for (i = 0; i < n; i++) good += (int)p->good[i];
    return n ? (double)good / n : 0.5;
}

/* Carries out the part of what the monitor asks that is about phases. The rest (weights, rate) is the caller's. */
static void hyb_phases_act(hyb_phases *p, const hyb_action *action)
{
    if (action->act == HYB_ACT_SHORTEN) p->scale = HYB_MAX(p->scale * action->shorten, 0.1);
    if (action->act == HYB_ACT_FULL || action->act == HYB_ACT_ROLL_BACK) hyb_phases_force_full(p, action->steps);
    if (action->act == HYB_ACT_ROLL_BACK) hyb_phases_observe(p, false, HYB_UNKNOWN);
}

/* Predictions are to be surer from now on. */
static void hyb_phases_raise(hyb_phases *p, double by) { p->threshold = hyb_clamp(p->threshold + by, 0.0, 0.99); }

/* All but what the descriptor says. */
static void hyb_phases_walk(hyb_phases *p, hyb_byte_walk *w)
{
    hyb_walk_bytes(w, (char *)p + offsetof(hyb_phases, phase), sizeof *p - offsetof(hyb_phases, phase));
    if (w->reads && (p->phase < 0 || p->phase > HYB_PHASE_CORRECT || p->arm < 0 || p->arm >= HYB_N_ARMS ||
                     p->in_window < 0 || p->n_outcomes < 0 || p->n_errors < 0))
        w->failed = true;
    if (w->reads && !w->failed) p->in_window %= p->desc.window;
}
#endif
