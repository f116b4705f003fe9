/* text/grammar/bounds: numbers as texts: which are at least this, below that, multiples of something. They are compared
 * as they are written, digit by digit, so that nothing is rounded.
 *
 * A number is written plainly: 12, -0.5; a whole one has at most 18 digits (it fits 64 bits), one with a point at most
 * 15 (no two of them are the same double, so that whoever reads it sees it on the right side of a bound). */
#ifndef HYB_TEXT_GRAMMAR_BOUNDS_C
#define HYB_TEXT_GRAMMAR_BOUNDS_C
#include "../../core/json.c"
#include "pattern.c"

enum { HYB_DIGITS_MAX = 400, HYB_MULTIPLE_MAX = 4096 };

/* The digits of a number before and after the point, without zeros at their ends: 0 has none at all. */
typedef struct hyb_figures {
    char text[HYB_DIGITS_MAX];
    int n_whole, n; /* digits before the point, and all */
    bool minus;
} hyb_figures;

HYB_INLINE bool hyb_json_is_number(const hyb_json *v)
{
    return v->type == HYB_JSON_INT || v->type == HYB_JSON_REAL || v->type == HYB_JSON_BIG;
}

static hybrid_result hyb_figures_of(const hyb_json *v, hyb_figures *d, hybrid_error *error)
{
    char text[64];
    const char *p = text, *stop;
    int exponent = 0, whole = 0, n = 0, lead = 0;
    if (v->type == HYB_JSON_BIG) {
        p = v->u.s;
        stop = p + v->n;
    } else if (v->type == HYB_JSON_INT)
        stop = p + snprintf(text, sizeof text, "%lld", (long long)v->u.i);
    else
        stop = p + hyb_json_real(v->u.d, text);
    if ((d->minus = *p == '-') == true) p++;
    if (!hyb_is_digit(*p) || stop - p > HYB_DIGITS_MAX)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "a number is beyond a double, or has more than 400 digits");
    for (; p < stop && hyb_is_digit(*p); p++, whole++) d->text[n++] = *p;
    if (p < stop && *p == '.')
        for (p++; p < stop && hyb_is_digit(*p); p++) d->text[n++] = *p;
    if (p < stop) exponent = atoi(p + 1); /* after e */
    whole += exponent;
    while (lead < n && d->text[lead] == '0') lead++;
    memmove(d->text, d->text + lead, (size_t)(n - lead));
    n -= lead;
    whole -= lead;
    while (n && d->text[n - 1] == '0') n--;
    if (!n) whole = 0;
    if (HYB_MAX(whole, n) - HYB_MIN(whole, 0) > HYB_DIGITS_MAX)
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "a number has more than 400 digits");
    if (whole < 0) { /* zeros after the point */
        memmove(d->text - whole, d->text, (size_t)n);
        memset(d->text, '0', (size_t)-whole);
        n -= whole;
        whole = 0;
    }
    for (; n < whole; n++) d->text[n] = '0';
    d->n_whole = whole;
    d->n = n;
    if (!n) d->minus = false;
    return HYBRID_OK;
}

HYB_INLINE bool hyb_figures_whole(const hyb_figures *d) { return d->n == d->n_whole; }

/* The number as it is written, into out (HYB_DIGITS_MAX + 4); its length. */
static size_t hyb_figures_write(const hyb_figures *d, char *out)
{
    size_t n = 0;
    if (d->minus) out[n++] = '-';
    if (!d->n_whole) out[n++] = '0';
    memcpy(out + n, d->text, (size_t)d->n_whole);
    n += (size_t)d->n_whole;
    if (hyb_figures_whole(d)) return n;
    out[n++] = '.';
    memcpy(out + n, d->text + d->n_whole, (size_t)(d->n - d->n_whole));
    return n + (size_t)(d->n - d->n_whole);
}

/* ---- on one side of a bound ---- */

enum { HYB_LESS, HYB_EQUAL, HYB_GREATER };

/* The states that compare the digits of a number with those of a bound:
 *     0        the beginning                         2        the same after a minus, where the bound has one
 *     1        the sign has decided                  3        a zero before the point
 *     whole(k, c)   k digits before the point, by c less, equal or greater than those of the bound;
 *                   beyond those it has there is only: greater
 *     after(j)      j digits after the point, all equal so far; the last two: less, greater for good */
typedef struct hyb_bound {
    hybrid_runtime *rt;
    const hyb_figures *d;
    hyb_dfa *out;
    bool accept[3]; /* of a number whose digits are LESS, EQUAL, GREATER */
    bool sign;      /* of one with the other sign */
    hybrid_error *error;
} hyb_bound;

static uint32_t hyb_bound_whole(const hyb_bound *b, int k, int c)
{
    return k > b->d->n_whole ? 4 + 3 * (uint32_t)b->d->n_whole : 4 + 3 * (uint32_t)(k - 1) + (uint32_t)c;
}

static uint32_t hyb_bound_after(const hyb_bound *b, int j) { return 5 + 3 * (uint32_t)b->d->n_whole + (uint32_t)j; }

static uint32_t hyb_bound_decided(const hyb_bound *b, int c)
{
    return hyb_bound_after(b, b->d->n - b->d->n_whole + 1 + (c == HYB_GREATER));
}

/* Digits from..9 by how they compare with the bound's digit (0: there is none any more). */
static hybrid_result hyb_bound_digits(hyb_bound *b, char from, char digit, uint32_t less, uint32_t equal,
                                      uint32_t greater)
{
    hybrid_result r = HYBRID_OK;
    if (digit > from) r = hyb_dfa_arc_add(b->rt, b->out, (uint32_t)from, (uint32_t)digit - 1, less, b->error);
    if (!r && digit >= from) r = hyb_dfa_arc_add(b->rt, b->out, (uint32_t)digit, (uint32_t)digit, equal, b->error);
    if (!r && digit < '9')
        r = hyb_dfa_arc_add(b->rt, b->out, (uint32_t)HYB_MAX(digit + 1, from), '9', greater, b->error);
    return r;
}

static hybrid_result hyb_bound_begin(hyb_bound *b, bool minus)
{
    hybrid_result r = hyb_dfa_state_add(b->rt, b->out, false, b->error);
    if (!r && minus) r = hyb_dfa_arc_add(b->rt, b->out, '-', '-', 1, b->error);
    if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '0', '0', 3, b->error);
    if (!r)
        r = hyb_bound_digits(b, '1', b->d->n_whole ? b->d->text[0] : '0', hyb_bound_whole(b, 1, HYB_LESS),
                             hyb_bound_whole(b, 1, HYB_EQUAL), hyb_bound_whole(b, 1, HYB_GREATER));
    return r;
}

/* A state before the point: what the digits say if they end here, where a point leads. */
static hybrid_result hyb_bound_state(hyb_bound *b, int k, int c)
{
    const bool more = b->d->n > b->d->n_whole; /* the bound goes on after the point */
    const int so_far = k < b->d->n_whole ? HYB_LESS : k > b->d->n_whole ? HYB_GREATER : c;
    hybrid_result r =
        hyb_dfa_state_add(b->rt, b->out, b->accept[so_far == HYB_EQUAL && more ? HYB_LESS : so_far], b->error);
    if (!r)
        r = hyb_dfa_arc_add(b->rt, b->out, '.', '.',
                            so_far == HYB_EQUAL ? hyb_bound_after(b, 0) : hyb_bound_decided(b, so_far), b->error);
    if (r || !k) return r; /* no digit follows a zero */
    if (k < b->d->n_whole && c == HYB_EQUAL)
        return hyb_bound_digits(b, '0', b->d->text[k], hyb_bound_whole(b, k + 1, HYB_LESS),
                                hyb_bound_whole(b, k + 1, HYB_EQUAL), hyb_bound_whole(b, k + 1, HYB_GREATER));
    return hyb_dfa_arc_add(b->rt, b->out, '0', '9', hyb_bound_whole(b, k + 1, c), b->error);
}

static hybrid_result hyb_bound_states(hyb_bound *b)
{
    const int n_after = b->d->n - b->d->n_whole;
    hybrid_result r;
    int k, c;
    if (b->d->minus) {
        r = hyb_dfa_state_add(b->rt, b->out, false, b->error);
        if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '-', '-', 2, b->error);
        if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '0', '9', 1, b->error);
    } else
        r = hyb_bound_begin(b, true);
    if (!r) r = hyb_dfa_state_add(b->rt, b->out, b->sign, b->error);
    if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '.', '.', 1, b->error);
    if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '0', '9', 1, b->error);
    if (!r) r = hyb_bound_begin(b, false);
    if (!r) r = hyb_bound_state(b, 0, HYB_EQUAL);
    for (k = 1; k <= b->d->n_whole && !r; k++)
        for (c = 0; c < 3 && !r; c++) r = hyb_bound_state(b, k, c);
    if (!r) r = hyb_bound_state(b, b->d->n_whole + 1, HYB_GREATER);
    for (k = 0; k <= n_after && !r; k++) {
        r = hyb_dfa_state_add(b->rt, b->out, b->accept[k < n_after ? HYB_LESS : HYB_EQUAL], b->error);
        if (!r)
            r = hyb_bound_digits(b, '0', k < n_after ? b->d->text[b->d->n_whole + k] : '0',
                                 hyb_bound_decided(b, HYB_LESS), hyb_bound_after(b, HYB_MIN(k + 1, n_after)),
                                 hyb_bound_decided(b, HYB_GREATER));
    }
    for (c = HYB_LESS; c <= HYB_GREATER && !r; c += 2) {
        r = hyb_dfa_state_add(b->rt, b->out, b->accept[c], b->error);
        if (!r) r = hyb_dfa_arc_add(b->rt, b->out, '0', '9', hyb_bound_decided(b, c), b->error);
    }
    return r;
}

/* The numbers that are less than, equal to, greater than the bound, as less, equal, greater say. A zero has no minus
 * there. */
static hybrid_result hyb_bound_texts(hybrid_runtime *rt, const hyb_figures *d, bool less, bool equal, bool greater,
                                     hyb_dfa *out, hybrid_error *error)
{
    hyb_bound b;
    hybrid_result r;
    memset(out, 0, sizeof *out);
    b.rt = rt;
    b.d = d;
    b.out = out;
    b.error = error;
    b.accept[HYB_LESS] = d->minus ? greater : less;
    b.accept[HYB_EQUAL] = equal;
    b.accept[HYB_GREATER] = d->minus ? less : greater;
    b.sign = d->minus ? greater : less;
    if ((r = hyb_bound_states(&b)) != HYBRID_OK) hyb_dfa_free(rt, out);
    return r;
}

/* Whole numbers that are multiples of m: what is left when the digits so far are divided. */
static hybrid_result hyb_multiple_texts(hybrid_runtime *rt, uint32_t m, hyb_dfa *out, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    uint32_t left, digit;
    memset(out, 0, sizeof *out);
    for (left = 0; left <= m && !r; left++) { /* state 0: no digit yet; left + 1: that much is left */
        r = hyb_dfa_state_add(rt, out, left == 1, error);
        if (!r && !left) r = hyb_dfa_arc_add(rt, out, '-', '-', 0, error);
        for (digit = 0; digit < 10 && !r; digit++)
            r = hyb_dfa_arc_add(rt, out, '0' + digit, '0' + digit, 1 + ((left ? left - 1 : 0) * 10 + digit) % m, error);
    }
    if (r) hyb_dfa_free(rt, out);
    return r;
}

/* ---- all of them ---- */

typedef enum hyb_numeral_kind {
    HYB_NUMERAL_WHOLE,
    HYB_NUMERAL_POINT,
    HYB_NUMERAL_EXPONENT,
    HYB_NUMERAL_KINDS
} hyb_numeral_kind;

/* Those that are written without a point, with one, with an exponent; no zero has a minus. */
static hybrid_result hyb_number_texts(hybrid_runtime *rt, hyb_numeral_kind kind, hyb_dfa *out, hybrid_error *error)
{
    static const char whole[] = "^(?:0|-?[1-9][0-9]{0,17})$";
    static const char point[] = "^-?(?:0|[1-9][0-9]{0,13})\\.[0-9]{1,14}$", most[] = "^-?[0-9.]{3,16}$";
    static const char zero[] = "^-0\\.0*$", exponent[] = "^-?[1-9](?:\\.[0-9]{1,14})?[eE][+-]?[1-9][0-9]?$";
    const char *first = kind == HYB_NUMERAL_WHOLE ? whole : kind == HYB_NUMERAL_POINT ? point : exponent;
    hyb_dfa other;
    hybrid_result r = hyb_pattern_texts(rt, first, strlen(first), out, error);
    if (r || kind != HYB_NUMERAL_POINT) return r;
    r = hyb_pattern_texts(rt, most, strlen(most), &other, error);
    if (!r) r = hyb_dfa_narrow(rt, out, &other, HYB_DFA_BOTH, error);
    if (!r) r = hyb_pattern_texts(rt, zero, strlen(zero), &other, error);
    if (!r) r = hyb_dfa_narrow(rt, out, &other, HYB_DFA_BUT_NOT, error);
    if (r) hyb_dfa_free(rt, out);
    return r;
}
#endif
