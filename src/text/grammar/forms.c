/* text/grammar/forms: what a list of flat terms says of numbers, texts, lists and objects, and the network that writes
 * them. See schema.c. */
#ifndef HYB_TEXT_GRAMMAR_FORMS_C
#define HYB_TEXT_GRAMMAR_FORMS_C
#include "terms.c"

/* Terms that hold together, flat ones. */
typedef struct hyb_form {
    hyb_schema *s;
    const hyb_term *terms;
    size_t n;
    uint32_t types;
    hyb_term *goal; /* the terms of a goal that is being put together */
    size_t n_goal, goal_capacity;
    hybrid_result failed;
} hyb_form;

/* The values that a term names, in a row: false when it names none. */
static bool hyb_form_named(const hyb_term *t, const hyb_json **v, uint32_t *n)
{
    const bool key = t->kind == HYB_TERM_UNLESS, list = key && hyb_json_is(t->node, "enum");
    const hyb_json *what = key ? t->node + 1 : t->node;
    if (t->kind == HYB_TERM_SCALARS || list) {
        *v = hyb_json_first(what);
        *n = what->n;
        return true;
    }
    *v = what;
    *n = 1;
    return t->kind == HYB_TERM_LITERAL || (key && hyb_json_is(t->node, "const"));
}

static void hyb_form_begin(hyb_form *f, hyb_schema *s, const hyb_term *terms, size_t n)
{
    const hyb_json *v;
    uint32_t k, count;
    size_t i;
    memset(f, 0, sizeof *f);
    f->s = s;
    f->terms = terms;
    f->n = n;
    f->types = HYB_IS_ANY;
    for (i = 0; i < n; i++) {
        f->types &= terms[i].mask;
        if (terms[i].kind != HYB_TERM_UNLESS || !hyb_form_named(&terms[i], &v, &count)) continue;
        for (k = 0; k < count; k++, v = hyb_json_next(v)) f->types &= ~(hyb_schema_type_of(v) & 7u);
    }
}

static void hyb_form_end(hyb_form *f)
{
    hyb_free(f->s->rt, f->goal);
    f->goal = NULL;
}

static void hyb_form_add(hyb_form *f, hyb_term_kind kind, const hyb_json *node)
{
    if (!f->failed) f->failed = HYB_GROW(f->s->rt, f->goal, f->goal_capacity, f->n_goal, f->n_goal + 1, f->s->error);
    if (!f->failed)
        f->goal[f->n_goal++] =
            hyb_term_of(kind, node, kind == HYB_TERM_LITERAL ? hyb_schema_type_of(node) : HYB_IS_ANY, 0);
}

static uint32_t hyb_form_goal(hyb_form *f)
{
    uint32_t goal = 0;
    if (!f->failed) f->failed = hyb_goal_of(f->s, f->goal, f->n_goal, &goal);
    f->n_goal = 0;
    return goal;
}

/* ---- texts that stand for a node, kept ---- */

/* The texts of a pattern or a format, by the node of the text that says it, kept: valid until the next call. */
static hybrid_result hyb_schema_cached(hyb_schema *s, const hyb_json *node, hyb_dfa *texts, const hyb_dfa **out)
{
    hybrid_result r = HYB_GROW(s->rt, s->cache, s->cache_capacity, s->n_cache, s->n_cache + 1, s->error);
    if (r) {
        hyb_dfa_free(s->rt, texts);
        return r;
    }
    s->cache[s->n_cache].node = node;
    s->cache[s->n_cache].texts = *texts;
    *out = &s->cache[s->n_cache++].texts;
    return HYBRID_OK;
}

static const hyb_dfa *hyb_schema_known(const hyb_schema *s, const hyb_json *node)
{
    size_t i;
    for (i = 0; i < s->n_cache; i++)
        if (s->cache[i].node == node) return &s->cache[i].texts;
    return NULL;
}

static hybrid_result hyb_schema_pattern(hyb_schema *s, const hyb_json *node, const hyb_dfa **out)
{
    hyb_dfa texts;
    hybrid_result r;
    if ((*out = hyb_schema_known(s, node)) != NULL) return HYBRID_OK;
    r = hyb_pattern_texts(s->rt, node->u.s, node->n, &texts, s->error);
    return r ? hyb_schema_at(s, node, "pattern", r) : hyb_schema_cached(s, node, &texts, out);
}

#define HYB_DATE \
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|" \
    "02-(?:0[1-9]|1[0-9]|2[0-9]))"
#define HYB_TIME "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
/* no year 0; the 29th of February where 4 does not divide the year, or 100 does and 400 does not */
#define HYB_NO_DATE  "^(?:0000|(?:" HYB_NOT_BY_4 ")00-02-29|[0-9]{2}(?:" HYB_NOT_BY_4 ")-02-29)"
#define HYB_NOT_BY_4 "[02468][1235679]|[13579][01345789]"
#define HYB_LABEL    "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HYB_ATOM     "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define HYB_BYTE     "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

typedef struct hyb_text_format {
    const char *name, *is, *out;
} hyb_text_format;

/* Formats are narrower than the standards that they name where those allow what hardly anybody reads: no leap seconds,
 * at most 9 digits of a second, years from 0001, T and Z in capitals; addresses without quotes and without numbers for
 * hosts. `out`: what is taken out of `is`. */
static const hyb_text_format hyb_text_formats[] = {
    { "date", "^" HYB_DATE "$", HYB_NO_DATE },
    { "date-time", "^" HYB_DATE "T" HYB_TIME "$", HYB_NO_DATE },
    { "email", "^" HYB_ATOM "(?:\\." HYB_ATOM ")*@" HYB_LABEL "(?:\\." HYB_LABEL ")+$", "^[^@]{65}" },
    { "ipv4", "^(?:" HYB_BYTE "\\.){3}" HYB_BYTE "$", NULL },
    { "time", "^" HYB_TIME "$", NULL },
    { "uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$", NULL },
};

static hybrid_result hyb_schema_format(hyb_schema *s, const hyb_json *node, const hyb_dfa **out)
{
    hyb_dfa texts, other;
    hybrid_result r;
    size_t i;
    if ((*out = hyb_schema_known(s, node)) != NULL) return HYBRID_OK;
    for (i = 0; i < HYB_COUNT(hyb_text_formats) && !hyb_json_is(node, hyb_text_formats[i].name); i++) {}
    if (i == HYB_COUNT(hyb_text_formats))
        return hyb_schema_refuse(s, node, "format",
                                 "and of formats hybrid knows date, date-time, time, email, ipv4 and "
                                 "uuid: others can be written as a pattern");
    r = hyb_pattern_texts(s->rt, hyb_text_formats[i].is, strlen(hyb_text_formats[i].is), &texts, s->error);
    if (r || !hyb_text_formats[i].out) return r ? r : hyb_schema_cached(s, node, &texts, out);
    if ((r = hyb_pattern_texts(s->rt, hyb_text_formats[i].out, strlen(hyb_text_formats[i].out), &other, s->error)) ==
        HYBRID_OK)
        r = hyb_dfa_narrow(s->rt, &texts, &other, HYB_DFA_BUT_NOT, s->error);
    if (!r) return hyb_schema_cached(s, node, &texts, out);
    hyb_dfa_free(s->rt, &texts);
    return r;
}

/* ---- lists of values ---- */

/* What of n values (in a row) is of one of these types, as texts: texts without quotes, numbers as they are written. */
static hybrid_result hyb_form_values(hyb_form *f, const hyb_json *v, uint32_t n, uint32_t types, hyb_dfa *out)
{
    hyb_figures *digits = (hyb_figures *)hyb_alloc(f->s->rt, sizeof *digits);
    char number[HYB_DIGITS_MAX + 4];
    hyb_draft draft;
    uint32_t i, start, end;
    hybrid_result r = digits ? HYBRID_OK : hyb_fail_memory(f->s->error, sizeof *digits);
    hyb_draft_begin(&draft, f->s->rt, f->s->error);
    start = hyb_draft_positions(&draft, 2);
    end = start + 1;
    for (i = 0; i < n && !r && !draft.failed; i++, v = hyb_json_next(v)) {
        const char *p, *stop;
        uint32_t at = start, code = 0;
        if (!(hyb_schema_type_of(v) & types)) continue;
        if (v->type == HYB_JSON_STRING) {
            p = v->u.s;
            stop = p + v->n;
        } else {
            if ((r = hyb_figures_of(v, digits, f->s->error)) != HYBRID_OK) break;
            p = number;
            stop = p + hyb_figures_write(digits, number);
        }
        for (; p < stop; p += hyb_utf8_read(p, stop, &code)) {
            hyb_utf8_read(p, stop, &code);
            at = hyb_draft_then(&draft, at, HYB_EDGE_CHARS, code, code);
        }
        hyb_draft_empty(&draft, at, end);
    }
    if (!r) r = hyb_dfa_of(&draft, start, end, out, f->s->error);
    hyb_draft_free(&draft);
    hyb_free(f->s->rt, digits);
    return r;
}

/* A list of values narrows texts, or (not) is taken out of them. */
static void hyb_form_narrow_values(hyb_form *f, const hyb_json *v, uint32_t n, uint32_t types, hyb_dfa_how how,
                                   hyb_dfa *out)
{
    hyb_dfa texts;
    if (!f->failed) f->failed = hyb_form_values(f, v, n, types, &texts);
    if (!f->failed) f->failed = hyb_dfa_narrow(f->s->rt, out, &texts, how, f->s->error);
}

/* ---- numbers ---- */

/* Narrows numbers to those on one side of a bound. */
static void hyb_form_bound(hyb_form *f, const hyb_json *v, bool less, bool equal, bool greater, hyb_dfa *out)
{
    hyb_figures *d;
    hyb_dfa texts;
    if (f->failed) return;
    if (!hyb_json_is_number(v)) {
        f->failed = hyb_schema_wrong(f->s, v, "a number belongs here");
        return;
    }
    if (!(d = (hyb_figures *)hyb_alloc(f->s->rt, sizeof *d))) {
        f->failed = hyb_fail_memory(f->s->error, sizeof *d);
        return;
    }
    f->failed = hyb_figures_of(v, d, f->s->error);
    if (!f->failed) f->failed = hyb_bound_texts(f->s->rt, d, less, equal, greater, &texts, f->s->error);
    if (!f->failed) f->failed = hyb_dfa_narrow(f->s->rt, out, &texts, HYB_DFA_BOTH, f->s->error);
    hyb_free(f->s->rt, d);
}

/* Narrows them to multiples: only whole numbers can be told here, which then have no point. */
static void hyb_form_multiple(hyb_form *f, const hyb_json *v, bool denied, hyb_dfa *out)
{
    const double m = v->type == HYB_JSON_INT ? (double)v->u.i : v->type == HYB_JSON_REAL ? v->u.d : 0;
    hyb_dfa texts;
    if (f->failed) return;
    if (!(m >= 1 && m <= HYB_MULTIPLE_MAX && m == (double)(uint32_t)m)) {
        f->failed = hyb_schema_refuse(f->s, v, "multipleOf", "which hybrid can do for whole numbers from 1 to 4096");
        return;
    }
    f->types &= ~HYB_IS_SPELLED;
    if (!denied) f->types &= ~HYB_IS_POINT;
    f->failed = hyb_multiple_texts(f->s->rt, (uint32_t)m, &texts, f->s->error);
    if (!f->failed)
        f->failed = hyb_dfa_narrow(f->s->rt, out, &texts, denied ? HYB_DFA_BUT_NOT : HYB_DFA_BOTH, f->s->error);
}

/* A keyword of numbers, that holds or not. */
static void hyb_form_number_key(hyb_form *f, const hyb_json *key, bool denied, hyb_dfa *out)
{
    const hyb_json *v = key + 1;
    if (hyb_json_is(key, "minimum")) hyb_form_bound(f, v, denied, !denied, !denied, out);
    if (hyb_json_is(key, "exclusiveMinimum")) hyb_form_bound(f, v, denied, denied, !denied, out);
    if (hyb_json_is(key, "maximum")) hyb_form_bound(f, v, !denied, !denied, denied, out);
    if (hyb_json_is(key, "exclusiveMaximum")) hyb_form_bound(f, v, !denied, denied, denied, out);
    if (hyb_json_is(key, "multipleOf")) hyb_form_multiple(f, v, denied, out);
}

/* What is said of numbers (out: nothing when it has no states). listed: they are some of a list, written as there. */
static void hyb_form_numbers(hyb_form *f, hyb_dfa *out, bool *listed)
{
    const hyb_json *v, *key;
    size_t i;
    uint32_t k, n;
    memset(out, 0, sizeof *out);
    *listed = false;
    for (i = 0; i < f->n && !f->failed; i++) {
        const hyb_term *t = &f->terms[i];
        if (t->kind == HYB_TERM_BASE)
            for (k = 0, key = hyb_json_first(t->node); k < t->node->n; k++, key = hyb_json_next_member(key))
                hyb_form_number_key(f, key, false, out);
        if (t->kind == HYB_TERM_UNLESS) hyb_form_number_key(f, t->node, true, out);
        if (!hyb_form_named(t, &v, &n)) continue;
        hyb_form_narrow_values(f, v, n, t->kind == HYB_TERM_UNLESS ? HYB_IS_NUMBER : f->types & HYB_IS_NUMBER,
                               t->kind == HYB_TERM_UNLESS ? HYB_DFA_BUT_NOT : HYB_DFA_BOTH, out);
        *listed = *listed || t->kind != HYB_TERM_UNLESS;
    }
}

/* Those of all numbers that are written so. */
static void hyb_form_written(hyb_form *f, hyb_numeral_kind kind, hyb_dfa *out)
{
    static const char zeros[] = "^-?[0-9]+\\.0+$";
    hyb_schema *s = f->s;
    hyb_dfa other;
    if (!f->failed && !s->numbers[kind].n) f->failed = hyb_number_texts(s->rt, kind, &s->numbers[kind], s->error);
    if (!f->failed) f->failed = hyb_dfa_join(s->rt, &s->numbers[kind], &s->numbers[kind], HYB_DFA_BOTH, out, s->error);
    if (f->failed || kind != HYB_NUMERAL_POINT || (f->types & 48) == 48) return;
    f->failed = hyb_pattern_texts(s->rt, zeros, sizeof zeros - 1, &other, s->error);
    if (!f->failed)
        f->failed =
            hyb_dfa_narrow(s->rt, out, &other, f->types & HYB_IS_POINT ? HYB_DFA_BUT_NOT : HYB_DFA_BOTH, s->error);
}

/* The numbers of a kind, as texts; out is empty (no states) when there are none of it. */
static void hyb_form_numbers_of(hyb_form *f, const hyb_dfa *said, hyb_numeral_kind kind, hyb_dfa *out)
{
    const uint32_t needs = kind == HYB_NUMERAL_WHOLE ? HYB_IS_WHOLE : HYB_IS_POINT | HYB_IS_SPELLED;
    hyb_dfa both;
    memset(out, 0, sizeof *out);
    if (!(f->types & needs) || (kind == HYB_NUMERAL_EXPONENT && (said->n || (f->types & 56) != 56))) return;
    hyb_form_written(f, kind, out);
    if (f->failed || !said->n) return;
    f->failed = hyb_dfa_join(f->s->rt, out, said, HYB_DFA_BOTH, &both, f->s->error);
    hyb_dfa_free(f->s->rt, out);
    if (!f->failed) *out = both;
}

/* ---- texts ---- */

/* A keyword of texts, that holds or not. */
static void hyb_form_string_key(hyb_form *f, const hyb_json *key, bool denied, hyb_dfa *out)
{
    const hyb_dfa *known = NULL;
    hyb_dfa texts;
    memset(&texts, 0, sizeof texts);
    if (f->failed) return;
    if (hyb_json_is(key, "pattern"))
        f->failed = hyb_schema_pattern(f->s, key + 1, &known);
    else if (hyb_json_is(key, "format"))
        f->failed = hyb_schema_format(f->s, key + 1, &known);
    if (!f->failed && known) f->failed = hyb_dfa_join(f->s->rt, known, known, HYB_DFA_BOTH, &texts, f->s->error);
    if (!f->failed && texts.n)
        f->failed = hyb_dfa_narrow(f->s->rt, out, &texts, denied ? HYB_DFA_BUT_NOT : HYB_DFA_BOTH, f->s->error);
    if (f->failed == HYBRID_ERROR_LIMIT) f->failed = hyb_schema_at(f->s, key, key->u.s, f->failed);
}

/* From least to most characters. */
static void hyb_form_lengths(hyb_form *f, uint32_t least, uint32_t most, hyb_dfa *out)
{
    hyb_dfa texts;
    if (f->failed || (!least && most == HYB_DFA_DEAD)) return;
    f->failed = hyb_dfa_lengths(f->s->rt, least, most, &texts, f->s->error);
    if (!f->failed) f->failed = hyb_dfa_narrow(f->s->rt, out, &texts, HYB_DFA_BOTH, f->s->error);
}

/* What is said of how many there are of something; of a text's characters, of a list's elements. most may be less than
 * least: then there is none. */
static void hyb_form_count(hyb_form *f, const char *low, const char *high, uint32_t *least, uint32_t *most)
{
    size_t i;
    *least = 0;
    *most = HYB_DFA_DEAD;
    for (i = 0; i < f->n && !f->failed; i++) {
        const hyb_term *t = &f->terms[i];
        uint32_t a = 0, b = HYB_DFA_DEAD;
        if (t->kind == HYB_TERM_BASE) {
            f->failed = hyb_schema_count(f->s, t->node, low, &a);
            if (!f->failed) f->failed = hyb_schema_count(f->s, t->node, high, &b);
        } else if (t->kind == HYB_TERM_UNLESS && hyb_json_is(t->node, low)) {
            f->failed = hyb_schema_count_of(f->s, t->node + 1, &b);
            if (!b--) { /* not even none */
                a = 1;
                b = 0;
            }
        } else if (t->kind == HYB_TERM_UNLESS && hyb_json_is(t->node, high)) {
            f->failed = hyb_schema_count_of(f->s, t->node + 1, &a);
            a++;
        }
        *least = HYB_MAX(*least, a);
        *most = HYB_MIN(*most, b);
    }
}

/* What is said of texts; nothing (no states): all of them. */
static void hyb_form_strings(hyb_form *f, hyb_dfa *out)
{
    const hyb_json *v, *key;
    uint32_t least, most, k, n;
    size_t i;
    memset(out, 0, sizeof *out);
    for (i = 0; i < f->n && !f->failed; i++) {
        const hyb_term *t = &f->terms[i];
        if (t->kind == HYB_TERM_BASE)
            for (k = 0, key = hyb_json_first(t->node); k < t->node->n; k++, key = hyb_json_next_member(key))
                hyb_form_string_key(f, key, false, out);
        if (t->kind == HYB_TERM_UNLESS) hyb_form_string_key(f, t->node, true, out);
        if (hyb_form_named(t, &v, &n))
            hyb_form_narrow_values(f, v, n, HYB_IS_STRING, t->kind == HYB_TERM_UNLESS ? HYB_DFA_BUT_NOT : HYB_DFA_BOTH,
                                   out);
    }
    hyb_form_count(f, "minLength", "maxLength", &least, &most);
    if (!f->failed && least > most && most != HYB_DFA_DEAD)
        f->types &= ~HYB_IS_STRING;
    else
        hyb_form_lengths(f, least, most, out);
}
#endif
