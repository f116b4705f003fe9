/* infer/gain: how many guesses pay. A decode of more rows takes longer, and a right guess saves a decode: what both
 * come to is measured as it goes, rows by the clock and guesses by what became of them, also of those that were only
 * thought of. Nothing that is computed depends on it, only when. */
#ifndef HYB_INFER_GAIN_C
#define HYB_INFER_GAIN_C
#include "../core/macros.h"

enum { HYB_GAIN_ROWS = 96, HYB_GAIN_OLD = 512 /* decodes after which a time has to be taken again */ };

/* Of the decodes of a context. */
typedef struct hyb_row_times {
    float us[HYB_GAIN_ROWS + 1]; /* of so many rows; 0: not known */
    uint32_t at[HYB_GAIN_ROWS + 1], n;
} hyb_row_times;

/* Where a guess comes from: what has been right so often. */
enum {
    HYB_GUESS_FORCED, /* the grammar leaves no choice but how to spell it */
    HYB_GUESS_MATCH,  /* after a match of 2 or 3 tokens, 4 to 7, 8 to 15, more, */
    HYB_GUESS_LATER = HYB_GUESS_MATCH + 4, /* and the same where the guesses before it were right: far likelier */
    HYB_GUESS_NEAR = HYB_GUESS_LATER + 4, /* one token that stands near where the last match would have gone on, */
    HYB_GUESS_NEAR_LATER,                 /* and after it was right */
    HYB_GUESS_DRAFT, /* a draft's, by how far its likeliest token is ahead of the next; */
    HYB_GUESS_DRAFTED = HYB_GUESS_DRAFT + 4, /* and all of a draft's together: what is not guessed yet */
    HYB_GUESS_KINDS
};

static int hyb_guess_kind(int32_t n_match)
{
    return HYB_GUESS_MATCH + (n_match >= 16 ? 3 : n_match >= 8 ? 2 : n_match >= 4 ? 1 : 0);
}

/* Of the guesses that come after one of a kind, should that be right. */
static int hyb_guess_kind_later(int kind)
{
    return kind == HYB_GUESS_NEAR ? (int)HYB_GUESS_NEAR_LATER : kind + HYB_GUESS_LATER - HYB_GUESS_MATCH;
}

/* ahead: by how much the logit of what a draft says is greater than that of any other token. */
static int hyb_guess_kind_drafted(float ahead)
{
    return HYB_GUESS_DRAFT + (ahead >= 3 ? 3 : ahead >= 1.5f ? 2 : ahead >= 0.5f ? 1 : 0);
}

#define HYB_GUESS_HOPE_DRAFTED 0.7f /* before anything is known, and when it is tried again */

static void hyb_guess_hopes(float hope[HYB_GUESS_KINDS])
{
    static const float first[HYB_GUESS_KINDS] = { 0.9f,  0.2f, 0.45f, 0.7f, 0.85f, 0.6f, 0.75f, 0.85f, 0.9f,
                                                  0.5f, 0.7f, 0.35f, 0.5f, 0.7f, 0.9f, HYB_GUESS_HOPE_DRAFTED };
    memcpy(hope, first, sizeof first);
}

/* A guess has turned out right or wrong. */
static void hyb_guess_learn(float *hope, bool right) { *hope += ((right ? 1.0f : 0.0f) - *hope) * 0.08f; }

/* What rows cost that were never measured: a fifth of the first one each. */
static float hyb_row_guess(int32_t n) { return 1 + 0.2f * (float)(n - 1); }

static void hyb_row_measure(hyb_row_times *t, int32_t n, uint64_t us)
{
    float *at = n >= 1 && n <= HYB_GAIN_ROWS ? &t->us[n] : NULL;
    t->n++;
    if (!at || !us) return;
    *at = *at > 0 && t->n - t->at[n] < HYB_GAIN_OLD ? *at + (HYB_MIN((float)us, 3 * *at) - *at) * 0.2f : (float)us;
    t->at[n] = t->n;
}

/* Microseconds of a decode of n rows, or what is like them when nothing was measured. */
static float hyb_row_time(const hyb_row_times *t, int32_t n)
{
    int32_t low = HYB_MIN(n, (int32_t)HYB_GAIN_ROWS), high = n;
    while (low > 0 && !(t->us[low] > 0 && t->n - t->at[low] < HYB_GAIN_OLD)) low--;
    if (low == n) return t->us[n];
    while (high <= HYB_GAIN_ROWS && !(t->us[high] > 0 && t->n - t->at[high] < HYB_GAIN_OLD)) high++;
    if (low && high <= HYB_GAIN_ROWS)
        return t->us[low] + (t->us[high] - t->us[low]) * (float)(n - low) / (float)(high - low);
    if (!low && high > HYB_GAIN_ROWS) return hyb_row_guess(n);
    if (!low) low = high;
    return t->us[low] * hyb_row_guess(n) / hyb_row_guess(low);
}

/* How many of n guesses make most tokens a second, beside `rows` rows of a batch for `streams` streams. choice_us: what
 * it takes to choose a token. */
static int32_t hyb_gain_best(const hyb_row_times *t, const float *hope, const uint8_t *kind, int32_t n, int32_t rows,
                             int32_t streams, float choice_us)
{
    float most = 0, tokens = (float)streams, chance = 1;
    int32_t best = 0, i;
    for (i = 0; i <= n; i++) {
        float speed;
        if (i) tokens += chance *= hope[kind[i - 1]];
        speed = tokens / (hyb_row_time(t, rows + i) + choice_us * tokens);
        if (speed <= most) continue;
        most = i ? speed : 1.02f * speed; /* what is hardly better is not */
        best = i;
    }
    return best;
}

/* ---- what guesses may cost -------------------------------------------------------------------------------------- */

/* Hopes can be wrong, and clocks too. So guesses have a purse, in decodes of one row: each token of the answer puts a
 * little in, each right guess what it saved, and guesses are made only as far as they can be paid if all are wrong:
 * however an answer goes, it takes but so much longer than without them. Prices are fixed, not measured. */
#define HYB_PURSE_FIRST 1.0f  /* what an answer begins with, at most: the first try is of a few rows */
#define HYB_PURSE_TOKEN 0.04f /* of each token */

/* What n guesses cost: the second row of a decode takes half of the first, the others a quarter. */
static float hyb_guess_price(int32_t n) { return n > 0 ? 0.25f + 0.25f * (float)n : 0; }

/* How many guesses a purse pays for, n at most. */
static int32_t hyb_guess_paid(float purse, int32_t n)
{
    while (n > 0 && hyb_guess_price(n) > purse) n--;
    return n;
}

/* ---- a draft ---------------------------------------------------------------------------------------------------- */

/* What the next decode is of, guesses aside. */
typedef struct hyb_gain_batch {
    const hyb_row_times *times, *draft; /* of its context, and of the draft's */
    int32_t rows, streams, drafting;    /* so many of the streams have a draft: all guess alike, as far as is known */
    float choice_us;
} hyb_gain_batch;

static bool hyb_row_known(const hyb_row_times *t)
{
    int32_t i = 1;
    while (i <= HYB_GAIN_ROWS && !(t->us[i] > 0)) i++;
    return i <= HYB_GAIN_ROWS;
}

/* Tokens a microsecond of a decode with `rows` guesses of each, of `made` that the draft has made. */
static float hyb_gain_speed(const hyb_gain_batch *b, float right, int32_t rows, int32_t made)
{
    const float tokens = (float)b->streams + (float)b->drafting * right;
    return tokens / (hyb_row_time(b->times, b->rows + b->drafting * rows) +
                     (float)made * hyb_row_time(b->draft, b->drafting) + b->choice_us * tokens);
}

/* Whether a draft is to guess more than the n tokens that it has guessed, `most` at most. */
static bool hyb_gain_draft(const hyb_gain_batch *b, const float *hope, const uint8_t *kind, int32_t n, int32_t most)
{
    float chance = 1, right = 0, now = hyb_gain_speed(b, 0, 0, n);
    int32_t i;
    if (n >= most || !hyb_row_known(b->times)) return false;
    if (!hyb_row_known(b->draft)) return n < 2; /* of a second one it will be known what it takes */
    for (i = 0; i < n; i++) {
        right += chance *= hope[kind[i]];
        now = HYB_MAX(now, hyb_gain_speed(b, right, i + 1, n));
    }
    for (; i < most; i++) {
        right += chance *= hope[HYB_GUESS_DRAFTED];
        if (hyb_gain_speed(b, right, i + 1, i + 1) > 1.02f * now) return true;
    }
    return false;
}
#endif
