/* text/grammar/layout: how values are written, as a network; and the whole way from a schema to rules.
 *
 * One way to write each value, so that what can be written can be told: no space but one that may follow a comma or a
 * colon; members in the order of the schema, those that it does not list after them; characters as themselves but for
 * those that must not be, which have their shortest escape; numbers as bounds.c says. So nothing grows without end but
 * lists, texts and objects that the schema lets grow. */
#ifndef HYB_TEXT_GRAMMAR_LAYOUT_C
#define HYB_TEXT_GRAMMAR_LAYOUT_C
#include "parts.c"
#include "rules.c"

/* ---- texts ---- */

static void hyb_layout_bytes(hyb_draft *d, uint32_t from, const char *text, size_t n, uint32_t to)
{
    size_t i;
    for (i = 0; i < n && !d->failed; i++)
        if (i + 1 < n)
            from = hyb_draft_then(d, from, HYB_EDGE_BYTES, (uint8_t)text[i], (uint8_t)text[i]);
        else
            hyb_draft_edge(d, from, HYB_EDGE_BYTES, (uint8_t)text[i], (uint8_t)text[i], to);
}

/* A sign, and one space that may follow. */
static uint32_t hyb_layout_sign(hyb_draft *d, uint32_t from, char sign)
{
    const uint32_t after = hyb_draft_then(d, from, HYB_EDGE_BYTES, (uint8_t)sign, (uint8_t)sign);
    const uint32_t to = hyb_draft_then(d, after, HYB_EDGE_BYTES, ' ', ' ');
    hyb_draft_empty(d, after, to);
    return to;
}

/* The letter of a short escape, 0: it has none. */
static char hyb_layout_letter(uint32_t code)
{
    return (char)(code == '"'    ? '"'
                  : code == '\\' ? '\\'
                  : code == '\b' ? 'b'
                  : code == '\t' ? 't'
                  : code == '\n' ? 'n'
                  : code == '\f' ? 'f'
                  : code == '\r' ? 'r'
                                 : 0);
}

/* The escapes that lead on from a position, as far as they have been needed. */
typedef struct hyb_escapes {
    uint32_t from, slash, zero, digit[2]; /* after \, \u00, \u000 and \u001 */
} hyb_escapes;

static void hyb_layout_escape(hyb_draft *d, hyb_escapes *e, uint32_t code, uint32_t to)
{
    const uint32_t letter = (uint8_t)hyb_layout_letter(code), hex = (uint32_t) "0123456789abcdef"[code & 15];
    uint32_t *digit = &e->digit[code >> 4 & 1];
    if (e->slash == HYB_DRAFT_NONE) e->slash = hyb_draft_then(d, e->from, HYB_EDGE_BYTES, '\\', '\\');
    if (letter) {
        hyb_draft_edge(d, e->slash, HYB_EDGE_BYTES, letter, letter, to);
        return;
    }
    if (e->zero == HYB_DRAFT_NONE) {
        e->zero = hyb_draft_then(d, e->slash, HYB_EDGE_BYTES, 'u', 'u');
        e->zero = hyb_draft_then(d, e->zero, HYB_EDGE_BYTES, '0', '0');
        e->zero = hyb_draft_then(d, e->zero, HYB_EDGE_BYTES, '0', '0');
    }
    if (*digit == HYB_DRAFT_NONE)
        *digit = hyb_draft_then(d, e->zero, HYB_EDGE_BYTES, '0' + (code >> 4), '0' + (code >> 4));
    hyb_draft_edge(d, *digit, HYB_EDGE_BYTES, hex, hex, to);
}

/* One character low..high of a text between quotes. */
static void hyb_layout_characters(hyb_draft *d, hyb_escapes *e, uint32_t low, uint32_t high, uint32_t to)
{
    static const uint32_t plain[3][2] = { { 0x20, 0x21 }, { 0x23, 0x5B }, { 0x5D, HYB_CHAR_LAST } };
    uint32_t i;
    for (i = 0; i < 3; i++)
        if (low <= plain[i][1] && high >= plain[i][0])
            hyb_draft_edge(d, e->from, HYB_EDGE_CHARS, HYB_MAX(low, plain[i][0]), HYB_MIN(high, plain[i][1]), to);
    for (i = low; i <= high && i < 0x20; i++) hyb_layout_escape(d, e, i, to);
    if (low <= '"' && '"' <= high) hyb_layout_escape(d, e, '"', to);
    if (low <= '\\' && '\\' <= high) hyb_layout_escape(d, e, '\\', to);
}

/* A rule of its own; its number. */
static uint32_t hyb_layout_rule(hyb_schema *s, uint32_t goal)
{
    hyb_draft *d = s->draft;
    const size_t n = d->n_rules;
    if (!d->failed) d->failed = HYB_GROW(s->rt, d->rules, d->rule_capacity, n, n + 1, s->error);
    if (!d->failed) d->failed = HYB_GROW(s->rt, s->rule_goals, s->rule_capacity, n, n + 1, s->error);
    if (d->failed) return 0;
    d->rules[n].start = hyb_draft_positions(d, 2);
    d->rules[n].end = d->rules[n].start + 1;
    s->rule_goals[n] = goal;
    d->n_rules++;
    return (uint32_t)n;
}

/* Any character of a text between quotes: a rule. */
static uint32_t hyb_layout_character(hyb_schema *s)
{
    hyb_escapes e;
    if (s->character != HYB_DRAFT_NONE || s->draft->failed) return s->character;
    s->character = hyb_layout_rule(s, HYB_DRAFT_NONE);
    if (s->draft->failed) return 0;
    memset(&e, 0xFF, sizeof e);
    e.from = s->draft->rules[s->character].start;
    hyb_layout_characters(s->draft, &e, 0, HYB_CHAR_LAST, s->draft->rules[s->character].end);
    return s->character;
}

/* Any text in quotes: a rule. */
static uint32_t hyb_layout_string(hyb_schema *s)
{
    hyb_draft *d = s->draft;
    hyb_escapes e;
    if (s->string != HYB_DRAFT_NONE || d->failed) return s->string;
    s->string = hyb_layout_rule(s, HYB_DRAFT_NONE);
    if (d->failed) return 0;
    memset(&e, 0xFF, sizeof e);
    e.from = hyb_draft_then(d, d->rules[s->string].start, HYB_EDGE_BYTES, '"', '"');
    hyb_layout_characters(d, &e, 0, HYB_CHAR_LAST, e.from);
    hyb_draft_edge(d, e.from, HYB_EDGE_BYTES, '"', '"', d->rules[s->string].end);
    return s->string;
}

/* The texts of a set, from one position to another; quoted: as characters between quotes. No states: none. */
static void hyb_layout_texts(hyb_schema *s, const hyb_dfa *texts, bool quoted, uint32_t from, uint32_t to)
{
    hyb_draft *d = s->draft;
    const uint32_t base = hyb_draft_positions(d, texts->n);
    size_t i, k;
    if (texts->n) hyb_draft_empty(d, from, base);
    for (i = 0; i < texts->n && !d->failed; i++) {
        const size_t stop = hyb_dfa_arcs_end(texts, i);
        hyb_escapes e;
        memset(&e, 0xFF, sizeof e);
        e.from = base + (uint32_t)i;
        if (texts->states[i].end) hyb_draft_empty(d, e.from, to);
        for (k = texts->states[i].first; k < stop && !d->failed; k++) {
            const hyb_arc *arc = &texts->arcs[k];
            if (quoted && !arc->low && arc->high == HYB_CHAR_LAST)
                hyb_draft_edge(d, e.from, HYB_EDGE_CALL, hyb_layout_character(s), 0, base + arc->to);
            else if (quoted)
                hyb_layout_characters(d, &e, arc->low, arc->high, base + arc->to);
            else
                hyb_draft_edge(d, e.from, HYB_EDGE_CHARS, arc->low, arc->high, base + arc->to);
        }
    }
}

/* ---- values ---- */

/* A value of a goal, whose rule is made when its turn comes. */
static void hyb_layout_goal(hyb_schema *s, uint32_t from, uint32_t goal, uint32_t to)
{
    if (s->draft->failed) return;
    if (s->goals[goal].rule == HYB_DRAFT_NONE) s->goals[goal].rule = hyb_layout_rule(s, goal);
    hyb_draft_edge(s->draft, from, HYB_EDGE_CALL, s->goals[goal].rule, 0, to);
}

static void hyb_layout_numbers(hyb_form *f, uint32_t from, uint32_t to)
{
    hyb_dfa said, texts;
    bool listed;
    int kind;
    hyb_form_numbers(f, &said, &listed);
    if (listed && !f->failed) hyb_layout_texts(f->s, &said, false, from, to);
    for (kind = 0; kind < HYB_NUMERAL_KINDS && !listed && !f->failed; kind++) {
        hyb_form_numbers_of(f, &said, (hyb_numeral_kind)kind, &texts);
        if (!f->failed) hyb_layout_texts(f->s, &texts, false, from, to);
        hyb_dfa_free(f->s->rt, &texts);
    }
    hyb_dfa_free(f->s->rt, &said);
}

static void hyb_layout_strings(hyb_form *f, uint32_t from, uint32_t to)
{
    hyb_draft *d = f->s->draft;
    hyb_dfa texts;
    hyb_form_strings(f, &texts);
    if (!f->failed && (f->types & HYB_IS_STRING)) {
        if (!texts.n)
            hyb_draft_edge(d, from, HYB_EDGE_CALL, hyb_layout_string(f->s), 0, to);
        else {
            const uint32_t first = hyb_draft_then(d, from, HYB_EDGE_BYTES, '"', '"'), last = hyb_draft_positions(d, 1);
            hyb_layout_texts(f->s, &texts, true, first, last);
            hyb_draft_edge(d, last, HYB_EDGE_BYTES, '"', '"', to);
        }
    }
    hyb_dfa_free(f->s->rt, &texts);
}

static void hyb_layout_list(hyb_form *f, uint32_t from, uint32_t to)
{
    hyb_draft *d = f->s->draft;
    uint32_t least, most, n_first, chain, i, at;
    hyb_form_items(f, &least, &most, &n_first);
    if (f->failed || least > most) return;
    chain = most != HYB_DFA_DEAD ? most : HYB_MAX(HYB_MAX(least, n_first), 1);
    at = hyb_draft_then(d, from, HYB_EDGE_BYTES, '[', '[');
    for (i = 0; i <= chain && !d->failed && !f->failed; i++) {
        uint32_t goal, next = at; /* behind the chain, round and round */
        if (i >= least) hyb_draft_edge(d, at, HYB_EDGE_BYTES, ']', ']', to);
        if (i == chain && most != HYB_DFA_DEAD) break;
        goal = hyb_form_item(f, i);
        if (f->failed || hyb_goal_never(f->s, goal)) break;
        if (i < chain) next = hyb_draft_positions(d, 1);
        hyb_layout_goal(f->s, i ? hyb_layout_sign(d, at, ',') : at, goal, next);
        at = next;
    }
}

/* ---- objects ---- */

/* An object that is being written: where those stand who have written nothing yet, and those who have, by how many
 * members they have written, as far as that matters. */
typedef struct hyb_layout_object {
    hyb_form *f;
    hyb_draft *d;
    const hyb_object *o;
    uint32_t first;      /* HYB_DRAFT_NONE: nobody */
    uint32_t *at, *next; /* (most + 1) after 1, 2, .. members; [0] is not used */
    uint32_t most;       /* that are counted */
    bool more;           /* there may be more than that */
} hyb_layout_object;

/* Where those stand who are about to write a member and have then written n, as far as that is counted. */
static uint32_t hyb_layout_joined(hyb_layout_object *w, uint32_t n)
{
    hyb_draft *d = w->d;
    const uint32_t start = hyb_draft_positions(d, 1);
    if (n == 1 && w->first != HYB_DRAFT_NONE) hyb_draft_empty(d, w->first, start);
    if (n > 1) hyb_draft_empty(d, hyb_layout_sign(d, w->at[n - 1], ','), start);
    if (n == w->most && w->more) hyb_draft_empty(d, hyb_layout_sign(d, w->at[n], ','), start);
    return start;
}

/* From a name to the value behind it. */
static void hyb_layout_value(hyb_layout_object *w, uint32_t named, uint32_t goal, uint32_t to)
{
    hyb_layout_goal(w->f->s, hyb_layout_sign(w->d, named, ':'), goal, to);
}

typedef struct hyb_layout_quoted { /* a name, written into a buffer that grows */
    hybrid_runtime *rt;
    char *text;
    size_t n, capacity;
} hyb_layout_quoted;

static bool hyb_layout_quote(void *user, const void *data, size_t n)
{
    hyb_layout_quoted *q = (hyb_layout_quoted *)user;
    if (HYB_GROW(q->rt, q->text, q->capacity, q->n, q->n + n, NULL)) return false;
    memcpy(q->text + q->n, data, n);
    q->n += n;
    return true;
}

/* All go on to the next member, those who may without it. */
static void hyb_layout_member(hyb_layout_object *w, const hyb_member *m)
{
    hyb_draft *d = w->d;
    hyb_layout_quoted q;
    uint32_t i, *swap;
    memset(&q, 0, sizeof q);
    q.rt = w->f->s->rt;
    if (!hyb_json_quote(m->name->u.s, m->name->n, false, hyb_layout_quote, &q))
        w->f->failed = hyb_fail_memory(w->f->s->error, m->name->n);
    for (i = 1; i <= w->most && !w->f->failed; i++) {
        w->next[i] = hyb_draft_positions(d, 1);
        if (!m->required) hyb_draft_empty(d, w->at[i], w->next[i]);
    }
    for (i = 1; i <= w->most && !w->f->failed && !d->failed; i++) {
        const uint32_t start = hyb_layout_joined(w, i), named = hyb_draft_positions(d, 1);
        hyb_layout_bytes(d, start, q.text, q.n, named);
        hyb_layout_value(w, named, m->goal, w->next[i]);
    }
    if (m->required) w->first = HYB_DRAFT_NONE;
    swap = w->at;
    w->at = w->next;
    w->next = swap;
    hyb_free(q.rt, q.text);
}

/* Members that are not listed: any number, after all others. */
static void hyb_layout_extras(hyb_layout_object *w)
{
    hyb_draft *d = w->d;
    uint32_t i, k;
    for (i = 1; i <= w->most && w->o->n_extras && !d->failed && !w->f->failed; i++) {
        const uint32_t quoted = hyb_draft_then(d, hyb_layout_joined(w, i), HYB_EDGE_BYTES, '"', '"');
        for (k = 0; k < w->o->n_extras && !d->failed; k++) {
            const uint32_t last = hyb_draft_positions(d, 1);
            hyb_layout_texts(w->f->s, &w->o->extras[k].names, true, quoted, last);
            hyb_layout_value(w, hyb_draft_then(d, last, HYB_EDGE_BYTES, '"', '"'), w->o->extras[k].goal, w->at[i]);
        }
    }
}

static void hyb_layout_members(hyb_layout_object *w, uint32_t from, uint32_t to)
{
    uint32_t i;
    size_t k;
    w->first = hyb_draft_then(w->d, from, HYB_EDGE_BYTES, '{', '{');
    for (i = 1; i <= w->most; i++) w->at[i] = hyb_draft_positions(w->d, 1); /* nobody yet */
    for (k = 0; k < w->o->n && !w->f->failed && !w->d->failed; k++)
        if (!w->o->members[k].impossible) hyb_layout_member(w, &w->o->members[k]);
    hyb_layout_extras(w);
    if (!w->o->least && w->first != HYB_DRAFT_NONE) hyb_draft_edge(w->d, w->first, HYB_EDGE_BYTES, '}', '}', to);
    for (i = HYB_MAX(w->o->least, 1); i <= w->most; i++) hyb_draft_edge(w->d, w->at[i], HYB_EDGE_BYTES, '}', '}', to);
}

static void hyb_layout_objects(hyb_form *f, uint32_t from, uint32_t to)
{
    hyb_object *o = hyb_form_object(f);
    hyb_layout_object w;
    uint32_t *counts;
    memset(&w, 0, sizeof w);
    if (!o) return;
    w.f = f;
    w.d = f->s->draft;
    w.o = o;
    w.more = o->most == HYB_DFA_DEAD || (!o->n_extras && o->most >= o->n);
    w.most = w.more ? HYB_MAX(o->least, 1) : o->most;
    if (!o->impossible && o->least <= o->most && w.most < HYB_DRAFT_MAX_POSITIONS) {
        counts = (uint32_t *)hyb_calloc(f->s->rt, 2 * ((size_t)w.most + 1), sizeof *counts);
        w.at = counts;
        w.next = counts ? counts + w.most + 1 : NULL;
        if (counts)
            hyb_layout_members(&w, from, to);
        else
            f->failed = hyb_fail_memory(f->s->error, 2 * ((size_t)w.most + 1) * sizeof *counts);
        hyb_free(f->s->rt, counts);
    } else if (w.most >= HYB_DRAFT_MAX_POSITIONS)
        hyb_draft_too_large(w.d);
    hyb_object_free(o);
}

/* ---- goals ---- */

/* All that a list of flat terms leaves. */
static hybrid_result hyb_layout_form(hyb_schema *s, const hyb_term *terms, size_t n, uint32_t from, uint32_t to)
{
    hyb_draft *d = s->draft;
    hyb_form f;
    hyb_form_begin(&f, s, terms, n);
    if (f.types & HYB_IS_NULL) hyb_layout_bytes(d, from, "null", 4, to);
    if (f.types & HYB_IS_FALSE) hyb_layout_bytes(d, from, "false", 5, to);
    if (f.types & HYB_IS_TRUE) hyb_layout_bytes(d, from, "true", 4, to);
    if (f.types & HYB_IS_NUMBER) hyb_layout_numbers(&f, from, to);
    if (f.types & HYB_IS_STRING) hyb_layout_strings(&f, from, to);
    if (!f.failed && (f.types & HYB_IS_ARRAY)) hyb_layout_list(&f, from, to);
    if (!f.failed && (f.types & HYB_IS_OBJECT)) hyb_layout_objects(&f, from, to);
    hyb_form_end(&f);
    return f.failed ? f.failed : d->failed;
}

static hybrid_result hyb_layout_rule_of(hyb_schema *s, uint32_t rule)
{
    const hyb_goal goal = s->goals[s->rule_goals[rule]];
    const uint32_t from = s->draft->rules[rule].start, to = s->draft->rules[rule].end;
    hyb_term_lists lists;
    hybrid_result r = hyb_schema_expand(s, s->terms + goal.first, goal.n, &lists);
    size_t i;
    for (i = 0; i < lists.count && !r; i++)
        r = hyb_layout_form(s, lists.terms + lists.begin[i], hyb_term_lists_size(&lists, i), from, to);
    hyb_term_lists_free(s, &lists);
    return r;
}

/* ---- whether there is any value, as far as that is easy to see ---- */

static hybrid_result hyb_goal_none(hyb_schema *s, uint32_t goal, bool *none)
{
    hybrid_result r;
    *none = hyb_goal_never(s, goal);
    if (*none || s->asking >= 4) return HYBRID_OK;
    s->asking++;
    r = hyb_alternatives_none(s, s->terms + s->goals[goal].first, s->goals[goal].n, none);
    s->asking--;
    return r;
}

/* No object: a member that must be there has no value. */
static bool hyb_form_no_object(hyb_form *f)
{
    hyb_object *o = hyb_form_object(f);
    bool none;
    size_t i;
    if (!o) return false;
    none = o->impossible || o->least > o->most;
    for (i = 0; i < o->n && !none && !f->failed; i++)
        if (o->members[i].required) f->failed = hyb_goal_none(f->s, o->members[i].goal, &none);
    hyb_object_free(o);
    return none;
}

static bool hyb_form_no_list(hyb_form *f)
{
    uint32_t least, most, n_first, i;
    bool none;
    hyb_form_items(f, &least, &most, &n_first);
    none = least > most;
    for (i = 0; i < HYB_MIN(least, 16) && !none && !f->failed; i++) {
        const uint32_t goal = hyb_form_item(f, i);
        if (!f->failed) f->failed = hyb_goal_none(f->s, goal, &none);
    }
    return none;
}

static bool hyb_form_no_scalar(hyb_form *f)
{
    hyb_dfa said, texts;
    bool listed, any = (f->types & 7) != 0;
    int kind;
    if (!any && (f->types & HYB_IS_NUMBER)) {
        hyb_form_numbers(f, &said, &listed);
        any = listed && hyb_dfa_any(&said);
        for (kind = 0; kind < HYB_NUMERAL_KINDS && !any && !listed && !f->failed; kind++) {
            hyb_form_numbers_of(f, &said, (hyb_numeral_kind)kind, &texts);
            any = hyb_dfa_any(&texts);
            hyb_dfa_free(f->s->rt, &texts);
        }
        hyb_dfa_free(f->s->rt, &said);
    }
    if (!any && (f->types & HYB_IS_STRING)) {
        hyb_form_strings(f, &texts);
        any = (f->types & HYB_IS_STRING) && (!texts.n || hyb_dfa_any(&texts));
        hyb_dfa_free(f->s->rt, &texts);
    }
    return !any;
}

/* Whether no value fits all of these terms; *none is false where that is not plain. */
static hybrid_result hyb_alternatives_none(hyb_schema *s, const hyb_term *terms, size_t n, bool *none)
{
    hyb_term_lists lists;
    hybrid_result r;
    size_t i;
    *none = true;
    r = hyb_schema_expand(s, terms, n, &lists);
    for (i = 0; i < lists.count && !r && *none; i++) {
        hyb_form f;
        hyb_form_begin(&f, s, lists.terms + lists.begin[i], hyb_term_lists_size(&lists, i));
        *none = hyb_form_no_scalar(&f) && (!(f.types & HYB_IS_ARRAY) || hyb_form_no_list(&f)) &&
                (!(f.types & HYB_IS_OBJECT) || hyb_form_no_object(&f));
        r = f.failed;
        hyb_form_end(&f);
    }
    hyb_term_lists_free(s, &lists);
    return r;
}

/* ---- the whole way ---- */

/* Whether references end what stands beside them: so they do in drafts up to 7. */
static bool hyb_schema_siblings(const hyb_json *root)
{
    static const char *const old[] = { "draft-03", "draft-04", "draft-06", "draft-07" };
    const hyb_json *v = hyb_json_get(root, "$schema");
    size_t i;
    for (i = 0; i < HYB_COUNT(old) && v && v->type == HYB_JSON_STRING; i++)
        if (strstr(v->u.s, old[i])) return false;
    return true;
}

static void hyb_schema_free(hyb_schema *s)
{
    size_t i;
    for (i = 0; i < s->n_cache; i++) hyb_dfa_free(s->rt, &s->cache[i].texts);
    for (i = 0; i < HYB_NUMERAL_KINDS; i++) hyb_dfa_free(s->rt, &s->numbers[i]);
    hyb_free(s->rt, s->cache);
    hyb_free(s->rt, s->goals);
    hyb_free(s->rt, s->terms);
    hyb_free(s->rt, s->slots);
    hyb_free(s->rt, s->rule_goals);
    hyb_json_free(&s->doc);
}

/* Reads a schema into an empty network; rule 0 is the whole text. The result is in draft->failed. */
static void hyb_schema_read(hyb_draft *draft, const char *text, size_t size)
{
    hyb_schema s;
    hyb_term whole;
    uint32_t goal = 0, rule;
    memset(&s, 0, sizeof s);
    s.rt = draft->rt;
    s.error = draft->error;
    s.draft = draft;
    s.character = s.string = HYB_DRAFT_NONE;
    if ((draft->failed = hyb_json_parse(s.rt, text, size, HYB_JSON_DEPTH, HYB_SCHEMA_MAX_NODES, &s.doc, s.error)) !=
        HYBRID_OK)
        return;
    s.siblings = hyb_schema_siblings(s.doc.root);
    whole = hyb_term_of(HYB_TERM_SCHEMA, s.doc.root, 0, 0);
    draft->failed = hyb_goal_of(&s, &whole, 1, &goal);
    if (!draft->failed) s.goals[goal].rule = hyb_layout_rule(&s, goal);
    for (rule = 0; rule < draft->n_rules && !draft->failed; rule++)
        if (s.rule_goals[rule] != HYB_DRAFT_NONE) {
            const hybrid_result r = hyb_layout_rule_of(&s, rule);
            if (!draft->failed) draft->failed = r;
        }
    hyb_schema_free(&s);
}
#endif
