/* predict/replay: the last 2048 ticks of a run: what was seen in each, and what became known of it later.
 *
 * A tick is the end of a window of training. Its inputs are features, and the action that was chosen at that moment for
 * the window that follows. What it is taught is how things went after it:
 *
 *     log loss at +1, +2, +4, +8 ticks, less what the law said of them at this tick; in units of the tick
 *     c* of the next displacement, gain of an audit, the verdict on the loss after Correct: whoever finds out says so
 *
 * unit: how much the law has missed by one tick ahead lately, as it was known at that tick. The loss of a run's first
 * ticks moves a hundred times as much as that of its last: in units they teach the same.
 *
 * An episode is a stretch of ticks that follow each other; a roll-back begins a new one, and no label and no window
 * reaches from one into the next. */
#ifndef HYB_PREDICT_REPLAY_C
#define HYB_PREDICT_REPLAY_C
#include "../compute/cpu/rssm/heads.c"
#include "member.c"

enum { HYB_REPLAY_TICKS = 2048 };
#define HYB_UNIT_MEMORY 0.03  /* weight of the newest miss in the average of their squares */
#define HYB_UNIT_LEAST  1e-5f /* of a log loss: 0.001 % */
#define HYB_LABEL_MOST  10.0f /* units */
#define HYB_INPUT_MOST  10.0f /* of the absolute value of an input */

typedef enum hyb_replay_known {
    HYB_REPLAY_LOSS = 1,
    HYB_REPLAY_LAW = 2,
    HYB_REPLAY_DELTA = 4,
    HYB_REPLAY_GAIN = 8,
    HYB_REPLAY_VERDICT = 16,
    HYB_REPLAY_OK = 32 /* the verdict: within the band */
} hyb_replay_known;

/* Values of 4 bytes only, so that a checkpoint holds no holes. */
typedef struct hyb_replay_tick {
    float x[HYB_WORLD_INPUTS];
    float loss;                /* log */
    float miss;                /* loss less the law of the same tick, in units */
    float ahead[HYB_HORIZONS]; /* the law's log loss at +1, +2, +4, +8 */
    float unit;                /* 0: nothing was known yet */
    float c[HYB_DELTA_GROUPS][HYB_DELTA_DIRECTIONS], gram[HYB_DELTA_GROUPS][HYB_DELTA_GRAM];
    float gain; /* true steps */
    int32_t episode;
    uint32_t known; /* of hyb_replay_known */
} hyb_replay_tick;

typedef struct hyb_replay {
    hyb_replay_tick *ticks; /* (HYB_REPLAY_TICKS): tick t at t % HYB_REPLAY_TICKS */
    int64_t n;              /* ticks ever */
    double square;          /* average of the squares of misses one tick ahead */
    int64_t n_squares;
    int32_t episode;
} hyb_replay;

static const int *hyb_replay_ahead(void)
{
    static const int ticks[HYB_HORIZONS] = { 1, 2, 4, 8 };
    return ticks;
}

static hyb_replay_tick *hyb_replay_at(const hyb_replay *r, int64_t tick) { return &r->ticks[tick % HYB_REPLAY_TICKS]; }
static int64_t hyb_replay_first(const hyb_replay *r) { return HYB_MAX(r->n - HYB_REPLAY_TICKS, 0); }

/* Is the tick there, and of that episode? */
static bool hyb_replay_has(const hyb_replay *r, int64_t tick, int32_t episode)
{
    return tick >= hyb_replay_first(r) && tick < r->n && hyb_replay_at(r, tick)->episode == episode;
}

static bool hyb_finite(float x) { return x - x == 0; }

static float hyb_replay_input(float x) { return hyb_finite(x) ? hyb_clampf(x, -HYB_INPUT_MOST, HYB_INPUT_MOST) : 0; }

/* The average of the squares, with the newest miss; one of more than 5 units counts as 5. */
static void hyb_replay_measure(hyb_replay *r, const hyb_replay_tick *now)
{
    const hyb_replay_tick *before;
    double square, weight;
    if (!hyb_replay_has(r, r->n - 1, r->episode) || !(now->known & HYB_REPLAY_LOSS)) return;
    before = hyb_replay_at(r, r->n - 1);
    if (!(before->known & HYB_REPLAY_LAW)) return;
    square = (double)now->loss - before->ahead[0];
    square *= square;
    if (r->n_squares >= 8) square = HYB_MIN(square, 25 * r->square);
    weight = HYB_MAX(HYB_UNIT_MEMORY, 1.0 / (double)(r->n_squares + 1));
    r->square += weight * (square - r->square);
    r->n_squares++;
}

static float hyb_replay_unit(const hyb_replay *r)
{
    return r->n_squares ? HYB_MAX((float)sqrt(r->square), HYB_UNIT_LEAST) : 0;
}

/* One more tick: its features, the log loss, what the law says of this tick and of those to come. What is not finite is
 * not known; a feature that is not finite is 0. The action is 0 until hyb_replay_act. */
static void hyb_replay_add(hyb_replay *r, const float features[HYB_WORLD_FEATURES], float loss, float law,
                           const float ahead[HYB_HORIZONS])
{
    hyb_replay_tick now;
    int i;
    memset(&now, 0, sizeof now);
    for (i = 0; i < HYB_WORLD_FEATURES; i++) now.x[i] = hyb_replay_input(features[i]);
    if (hyb_finite(loss)) {
        now.loss = loss;
        now.known |= HYB_REPLAY_LOSS;
    }
    for (i = 0; i < HYB_HORIZONS && hyb_finite(ahead[i]); i++) now.ahead[i] = ahead[i];
    if (i == HYB_HORIZONS) now.known |= HYB_REPLAY_LAW;
    hyb_replay_measure(r, &now);
    now.unit = hyb_replay_unit(r);
    if (hyb_finite(loss) && hyb_finite(law) && now.unit > 0)
        now.miss = hyb_clampf((loss - law) / now.unit, -HYB_LABEL_MOST, HYB_LABEL_MOST);
    now.episode = r->episode;
    r->n++;
    *hyb_replay_at(r, r->n - 1) = now;
}

/* What a member is taught about a tick. */
static void hyb_replay_labels(const hyb_replay *r, int64_t tick, hyb_heads_labels *y)
{
    const hyb_replay_tick *now = hyb_replay_at(r, tick);
    const float unit = now->unit > 0 ? now->unit : hyb_replay_unit(r);
    int h;
    memset(y, 0, sizeof *y);
    for (h = 0; h < HYB_HORIZONS && unit > 0 && (now->known & HYB_REPLAY_LAW); h++) {
        const int64_t later = tick + hyb_replay_ahead()[h];
        if (!hyb_replay_has(r, later, now->episode) || !(hyb_replay_at(r, later)->known & HYB_REPLAY_LOSS)) continue;
        y->y[h] = hyb_clampf((hyb_replay_at(r, later)->loss - now->ahead[h]) / unit, -HYB_LABEL_MOST, HYB_LABEL_MOST);
        y->has_loss |= 1u << h;
    }
    y->has_delta = (now->known & HYB_REPLAY_DELTA) != 0;
    if (y->has_delta) {
        memcpy(y->c, now->c, sizeof y->c);
        memcpy(y->gram, now->gram, sizeof y->gram);
    }
    y->has_gain = (now->known & HYB_REPLAY_GAIN) != 0;
    y->gain = hyb_clampf(now->gain / HYB_GAIN_UNIT, -HYB_LABEL_MOST, HYB_LABEL_MOST);
    y->has_ok = (now->known & HYB_REPLAY_VERDICT) != 0;
    y->ok = (now->known & HYB_REPLAY_OK) != 0;
}

/* How many ticks there are whose gain is known; *tick: the one of these with the number n. */
static int64_t hyb_replay_audits(const hyb_replay *r, int64_t n, int64_t *tick)
{
    int64_t t, count = 0;
    for (t = hyb_replay_first(r); t < r->n; t++) {
        if (!(hyb_replay_at(r, t)->known & HYB_REPLAY_GAIN)) continue;
        if (count++ == n) *tick = t;
    }
    return count;
}

/* Ticks of a window: 16, or as many as there are. */
static int hyb_replay_window(const hyb_replay *r)
{
    return (int)HYB_MIN(r->n - hyb_replay_first(r), (int64_t)HYB_PANEL_TICKS);
}

/* Where the windows of a step begin: the first is the newest; where gains are known, which are few, the second holds
 * one; the others are drawn from all. */
static void hyb_replay_draw(const hyb_replay *r, uint64_t seed, int64_t step, int64_t first[HYB_PANEL_WINDOWS])
{
    const int ticks = hyb_replay_window(r);
    const int64_t low = hyb_replay_first(r), most = r->n - ticks;
    int64_t audited = 0;
    const int64_t audits = hyb_replay_audits(r, -1, &audited);
    int i;
    for (i = 0; i < HYB_PANEL_WINDOWS; i++) {
        uint32_t random[4];
        hyb_world_random(seed, HYB_STREAM_WINDOWS, 0, (uint64_t)step * HYB_PANEL_WINDOWS + (uint64_t)i, random);
        first[i] = low + (int64_t)(random[0] % (uint64_t)(most - low + 1));
        if (i == 0) first[i] = most;
        if (i == 1 && audits) {
            hyb_replay_audits(r, (int64_t)(random[1] % (uint64_t)audits), &audited);
            first[i] = audited - (int64_t)(random[2] % (uint32_t)ticks);
        }
        first[i] = HYB_MIN(HYB_MAX(first[i], low), most);
    }
}
#endif
