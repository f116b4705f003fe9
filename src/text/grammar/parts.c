/* text/grammar/parts: what a list of flat terms says of the elements of lists and the members of objects. */
#ifndef HYB_TEXT_GRAMMAR_PARTS_C
#define HYB_TEXT_GRAMMAR_PARTS_C
#include "forms.c"

/* ---- lists ---- */

/* How many elements a list may have (least > most: there is none), and how many have a schema of their own. */
static void hyb_form_items(hyb_form *f, uint32_t *least, uint32_t *most, uint32_t *n_first)
{
    size_t i;
    hyb_form_count(f, "minItems", "maxItems", least, most);
    for (i = 0, *n_first = 0; i < f->n; i++) {
        const hyb_term *t = &f->terms[i];
        const hyb_json *first = hyb_json_get(t->node, "prefixItems"), *items = hyb_json_get(t->node, "items");
        if (t->kind == HYB_TERM_LITERAL && t->node->type == HYB_JSON_ARRAY) {
            *least = HYB_MAX(*least, t->node->n);
            *most = HYB_MIN(*most, t->node->n);
        }
        if (t->kind != HYB_TERM_BASE) continue;
        if (!first && items && items->type == HYB_JSON_ARRAY) first = items;
        if (first) *n_first = HYB_MAX(*n_first, first->n);
    }
}

static const hyb_json *hyb_json_element(const hyb_json *list, uint32_t i)
{
    const hyb_json *v;
    if (!list || list->type != HYB_JSON_ARRAY || i >= list->n) return NULL;
    for (v = hyb_json_first(list); i--;) v = hyb_json_next(v);
    return v;
}

/* What the element at i must be. */
static uint32_t hyb_form_item(hyb_form *f, uint32_t i)
{
    size_t k;
    for (k = 0; k < f->n && !f->failed; k++) {
        const hyb_term *t = &f->terms[k];
        const hyb_json *first = hyb_json_get(t->node, "prefixItems"), *items = hyb_json_get(t->node, "items"), *v;
        if (t->kind == HYB_TERM_LITERAL && (v = hyb_json_element(t->node, i)) != NULL)
            hyb_form_add(f, HYB_TERM_LITERAL, v);
        if (t->kind != HYB_TERM_BASE) continue;
        if (items && items->type == HYB_JSON_ARRAY) {
            first = items;
            items = hyb_json_get(t->node, "additionalItems");
        }
        if ((v = hyb_json_element(first, i)) == NULL) v = items;
        if (v) hyb_form_add(f, HYB_TERM_SCHEMA, v);
    }
    return hyb_form_goal(f);
}

/* ---- objects ---- */

typedef struct hyb_member {
    const hyb_json *name;
    uint32_t goal;
    bool required, impossible;
} hyb_member;

/* Members with names that are not listed: of each set of names, what they must be. */
typedef struct hyb_extra {
    hyb_dfa names;
    uint64_t conditions; /* which of those of the object */
    uint32_t goal;
    bool matched; /* by a pattern of the schema that is being looked at */
} hyb_extra;

enum { HYB_MAX_EXTRAS = 64, HYB_MAX_CONDITIONS = 64 };

typedef struct hyb_object {
    hyb_form *f;
    hyb_member *members;
    size_t n, capacity;
    uint32_t least, most;
    bool impossible;
    hyb_extra extras[HYB_MAX_EXTRAS];
    const hyb_json *conditions[HYB_MAX_CONDITIONS];
    uint32_t n_extras, n_conditions;
} hyb_object;

static void hyb_object_free(hyb_object *o)
{
    hybrid_runtime *rt = o->f->s->rt;
    uint32_t i;
    for (i = 0; i < o->n_extras; i++) hyb_dfa_free(rt, &o->extras[i].names);
    hyb_free(rt, o->members);
    hyb_free(rt, o);
}

/* A member of this name, with what is known of it. */
static void hyb_object_member(hyb_object *o, const hyb_json *name, bool required, bool impossible)
{
    hyb_form *f = o->f;
    size_t i;
    for (i = 0; i < o->n && !hyb_json_same(o->members[i].name, name); i++) {}
    HYB_STEPS(i);
    if (i == o->n && !f->failed) {
        f->failed = HYB_GROW(f->s->rt, o->members, o->capacity, o->n, o->n + 1, f->s->error);
        if (f->failed) return;
        memset(&o->members[o->n], 0, sizeof *o->members);
        o->members[o->n++].name = name;
    }
    if (f->failed) return;
    o->members[i].required = o->members[i].required || required;
    o->members[i].impossible = o->members[i].impossible || impossible;
}

/* All names that are listed, in the order in which they are written: those of `properties`, then the others. */
static void hyb_object_names(hyb_object *o)
{
    size_t i;
    uint32_t k;
    for (i = 0; i < o->f->n; i++) {
        const hyb_term *t = &o->f->terms[i];
        const bool literal = t->kind == HYB_TERM_LITERAL && t->node->type == HYB_JSON_OBJECT;
        const hyb_json *from = literal                    ? t->node
                               : t->kind == HYB_TERM_BASE ? hyb_json_get(t->node, "properties")
                                                          : NULL;
        const hyb_json *key = from ? hyb_json_first(from) : NULL;
        for (k = 0; from && k < from->n; k++, key = hyb_json_next_member(key))
            hyb_object_member(o, key, literal, false);
    }
    for (i = 0; i < o->f->n; i++) {
        const hyb_term *t = &o->f->terms[i];
        const hyb_json *list = t->kind == HYB_TERM_BASE ? hyb_json_get(t->node, "required") : NULL;
        const hyb_json *name = list ? hyb_json_first(list) : NULL;
        for (k = 0; list && k < list->n; k++, name = hyb_json_next(name)) hyb_object_member(o, name, true, false);
        if (t->kind == HYB_TERM_HAS || t->kind == HYB_TERM_HAS_OTHER) hyb_object_member(o, t->node, true, false);
        if (t->kind == HYB_TERM_LACKS) hyb_object_member(o, t->node, false, true);
    }
}

/* The names that a schema of propertyNames allows. */
static hybrid_result hyb_schema_names(hyb_schema *s, const hyb_json *schema, const hyb_dfa **out)
{
    const hyb_term whole = hyb_term_of(HYB_TERM_SCHEMA, schema, 0, 0);
    hyb_term_lists lists;
    hyb_dfa all, some;
    hybrid_result r;
    size_t i;
    if ((*out = hyb_schema_known(s, schema)) != NULL) return HYBRID_OK;
    memset(&all, 0, sizeof all);
    r = hyb_schema_expand(s, &whole, 1, &lists);
    if (!r) r = hyb_dfa_state_add(s->rt, &all, false, s->error); /* none yet */
    for (i = 0; i < lists.count && !r; i++) {
        hyb_form f;
        hyb_form_begin(&f, s, lists.terms + lists.begin[i], hyb_term_lists_size(&lists, i));
        if (!(f.types & HYB_IS_STRING)) continue;
        hyb_form_strings(&f, &some);
        if (!(r = f.failed) && !some.n) r = hyb_dfa_lengths(s->rt, 0, HYB_DFA_DEAD, &some, s->error);
        if (!r && (f.types & HYB_IS_STRING))
            r = hyb_dfa_narrow(s->rt, &all, &some, HYB_DFA_EITHER, s->error);
        else
            hyb_dfa_free(s->rt, &some);
        hyb_form_end(&f);
    }
    hyb_term_lists_free(s, &lists);
    if (!r) return hyb_schema_cached(s, schema, &all, out);
    hyb_dfa_free(s->rt, &all);
    return r;
}

/* What one schema says of the value of a member: adds it to the goal. */
static void hyb_object_value_of(hyb_object *o, const hyb_json *schema, hyb_member *m)
{
    hyb_form *f = o->f;
    const hyb_json *properties = hyb_json_get(schema, "properties"),
                   *patterns = hyb_json_get(schema, "patternProperties");
    const hyb_json *more = hyb_json_get(schema, "additionalProperties"), *names = hyb_json_get(schema, "propertyNames");
    const hyb_json *key = hyb_json_key(properties, m->name->u.s, m->name->n);
    const hyb_dfa *texts;
    bool matched = key != NULL;
    uint32_t i;
    if (key) hyb_form_add(f, HYB_TERM_SCHEMA, key + 1);
    if (patterns)
        for (i = 0, key = hyb_json_first(patterns); i < patterns->n && !f->failed;
             i++, key = hyb_json_next_member(key)) {
            if ((f->failed = hyb_schema_pattern(f->s, key, &texts)) != HYBRID_OK) return;
            if (!hyb_dfa_holds(texts, m->name->u.s, m->name->n)) continue;
            hyb_form_add(f, HYB_TERM_SCHEMA, key + 1);
            matched = true;
        }
    if (!matched && more) hyb_form_add(f, HYB_TERM_SCHEMA, more);
    if (!names || f->failed) return;
    f->failed = hyb_schema_names(f->s, names, &texts);
    if (!f->failed && !hyb_dfa_holds(texts, m->name->u.s, m->name->n)) m->impossible = true;
}

/* What the value of a member must be, from all terms. */
static void hyb_object_value(hyb_object *o, hyb_member *m)
{
    hyb_form *f = o->f;
    size_t i;
    for (i = 0; i < f->n && !f->failed; i++) {
        const hyb_term *t = &f->terms[i];
        const hyb_json *key;
        if (t->kind == HYB_TERM_BASE) hyb_object_value_of(o, t->node, m);
        if (t->kind == HYB_TERM_HAS_OTHER && hyb_json_same(t->node, m->name))
            hyb_form_add(f, HYB_TERM_NOT, t->node + 1);
        if (t->kind != HYB_TERM_LITERAL || t->node->type != HYB_JSON_OBJECT) continue;
        if ((key = hyb_json_key(t->node, m->name->u.s, m->name->n)) != NULL)
            hyb_form_add(f, HYB_TERM_LITERAL, key + 1);
        else
            m->impossible = true;
    }
    m->goal = hyb_form_goal(f);
    if (!f->failed && hyb_goal_never(f->s, m->goal)) m->impossible = true;
    if (m->impossible && m->required) o->impossible = true;
}

/* ---- other members ---- */

static uint64_t hyb_object_condition(hyb_object *o, const hyb_json *schema)
{
    if (o->n_conditions == HYB_MAX_CONDITIONS) {
        o->f->failed = hyb_fail(o->f->s->error, HYBRID_ERROR_LIMIT,
                                "the schema has more than 64 patternProperties for one object");
        return 0;
    }
    o->conditions[o->n_conditions] = schema;
    return (uint64_t)1 << o->n_conditions++;
}

/* Every set of names is cut into those that a pattern holds, with one more condition, and the others. */
static void hyb_object_cut(hyb_object *o, const hyb_dfa *texts, uint64_t condition)
{
    hyb_form *f = o->f;
    const uint32_t n = o->n_extras;
    uint32_t i;
    for (i = 0; i < n && !f->failed; i++) {
        hyb_extra *e = &o->extras[i], *inside = &o->extras[o->n_extras];
        hyb_dfa others;
        if (o->n_extras == HYB_MAX_EXTRAS) {
            f->failed = hyb_fail(f->s->error, HYBRID_ERROR_LIMIT,
                                 "the schema has patternProperties that cut names into "
                                 "more than 64 sets");
            return;
        }
        f->failed = hyb_dfa_join(f->s->rt, &e->names, texts, HYB_DFA_BOTH, &inside->names, f->s->error);
        if (f->failed) return;
        if (!hyb_dfa_any(&inside->names)) {
            hyb_dfa_free(f->s->rt, &inside->names);
            continue;
        }
        inside->conditions = e->conditions | condition;
        inside->matched = true;
        o->n_extras++;
        f->failed = hyb_dfa_join(f->s->rt, &e->names, texts, HYB_DFA_BUT_NOT, &others, f->s->error);
        if (f->failed) return;
        hyb_dfa_free(f->s->rt, &e->names);
        e->names = others;
    }
}

/* Narrows the sets by what one schema says. */
static void hyb_object_extras_of(hyb_object *o, const hyb_json *schema)
{
    hyb_form *f = o->f;
    const hyb_json *patterns = hyb_json_get(schema, "patternProperties");
    const hyb_json *more = hyb_json_get(schema, "additionalProperties"), *names = hyb_json_get(schema, "propertyNames");
    const hyb_json *key;
    const hyb_dfa *texts;
    uint64_t condition;
    uint32_t i;
    hyb_dfa both;
    for (i = 0; i < o->n_extras; i++) o->extras[i].matched = false;
    if (patterns)
        for (i = 0, key = hyb_json_first(patterns); i < patterns->n && !f->failed;
             i++, key = hyb_json_next_member(key)) {
            condition = hyb_object_condition(o, key + 1);
            if (!f->failed) f->failed = hyb_schema_pattern(f->s, key, &texts);
            if (!f->failed) hyb_object_cut(o, texts, condition);
        }
    condition = more && !f->failed ? hyb_object_condition(o, more) : 0;
    for (i = 0; i < o->n_extras; i++)
        if (!o->extras[i].matched) o->extras[i].conditions |= condition;
    if (!names || f->failed) return;
    f->failed = hyb_schema_names(f->s, names, &texts);
    for (i = 0; i < o->n_extras && !f->failed; i++) {
        f->failed = hyb_dfa_join(f->s->rt, &o->extras[i].names, texts, HYB_DFA_BOTH, &both, f->s->error);
        if (f->failed) return;
        hyb_dfa_free(f->s->rt, &o->extras[i].names);
        o->extras[i].names = both;
    }
}

/* Whether there is nothing but the members that are listed, at a glance. */
static bool hyb_object_closed(const hyb_object *o)
{
    size_t i;
    for (i = 0; i < o->f->n; i++) {
        const hyb_term *t = &o->f->terms[i];
        const hyb_json *more = t->kind == HYB_TERM_BASE ? hyb_json_get(t->node, "additionalProperties") : NULL;
        if (t->kind == HYB_TERM_LITERAL && t->node->type == HYB_JSON_OBJECT) return true;
        if (more && more->type == HYB_JSON_BOOL && !more->u.b && !hyb_json_get(t->node, "patternProperties"))
            return true;
    }
    return false;
}

/* All names but those that are listed. */
static void hyb_object_unlisted(hyb_object *o)
{
    hyb_form *f = o->f;
    hyb_draft draft;
    hyb_dfa listed;
    uint32_t start, end, code = 0;
    size_t i;
    hyb_draft_begin(&draft, f->s->rt, f->s->error);
    start = hyb_draft_positions(&draft, 2);
    end = start + 1;
    for (i = 0; i < o->n; i++) {
        const char *p = o->members[i].name->u.s, *stop = p + o->members[i].name->n;
        uint32_t at = start;
        while (p < stop) {
            p += hyb_utf8_read(p, stop, &code);
            at = hyb_draft_then(&draft, at, HYB_EDGE_CHARS, code, code);
        }
        hyb_draft_empty(&draft, at, end);
    }
    f->failed = hyb_dfa_of(&draft, start, end, &listed, f->s->error);
    hyb_draft_free(&draft);
    if (f->failed) return;
    o->n_extras = 1;
    f->failed = hyb_dfa_narrow(f->s->rt, &o->extras[0].names, &listed, HYB_DFA_BUT_NOT, f->s->error);
}

static void hyb_object_extras(hyb_object *o)
{
    hyb_form *f = o->f;
    size_t k;
    uint32_t i, c, kept = 0;
    if (f->failed || hyb_object_closed(o)) return;
    hyb_object_unlisted(o);
    for (k = 0; k < f->n && !f->failed; k++)
        if (f->terms[k].kind == HYB_TERM_BASE) hyb_object_extras_of(o, f->terms[k].node);
    for (i = 0; i < o->n_extras && !f->failed; i++) {
        hyb_extra e = o->extras[i];
        for (c = 0; c < o->n_conditions; c++)
            if (e.conditions >> c & 1) hyb_form_add(f, HYB_TERM_SCHEMA, o->conditions[c]);
        e.goal = hyb_form_goal(f);
        if (f->failed) return;
        if (!hyb_dfa_any(&e.names) || hyb_goal_never(f->s, e.goal)) {
            hyb_dfa_free(f->s->rt, &o->extras[i].names);
            continue;
        }
        memset(&o->extras[i], 0, sizeof e);
        o->extras[kept++] = e;
    }
    if (!f->failed) o->n_extras = kept;
}

/* All that is said of objects; to be freed; NULL: it failed. */
static hyb_object *hyb_form_object(hyb_form *f)
{
    hyb_object *o = f->failed ? NULL : (hyb_object *)hyb_calloc(f->s->rt, 1, sizeof *o);
    size_t i;
    uint32_t needed = 0;
    if (!o) {
        if (!f->failed) f->failed = hyb_fail_memory(f->s->error, sizeof *o);
        return NULL;
    }
    o->f = f;
    hyb_object_names(o);
    for (i = 0; i < o->n && !f->failed; i++) hyb_object_value(o, &o->members[i]);
    if (!o->impossible) hyb_object_extras(o);
    hyb_form_count(f, "minProperties", "maxProperties", &o->least, &o->most);
    for (i = 0; i < o->n; i++) needed += o->members[i].required;
    if (!f->failed && !o->impossible && o->n_extras && o->least > 1 && o->least > needed)
        f->failed = hyb_schema_refuse(f->s, f->terms[0].node, "minProperties",
                                      "for members with any names: hybrid cannot see that they differ");
    if (!f->failed) return o;
    hyb_object_free(o);
    return NULL;
}
#endif
