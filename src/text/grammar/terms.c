/* text/grammar/terms: goals, and what they are when they are expanded: see schema.c. */
#ifndef HYB_TEXT_GRAMMAR_TERMS_C
#define HYB_TEXT_GRAMMAR_TERMS_C
#include "schema.c"

static hybrid_result hyb_alternatives_none(hyb_schema *s, const hyb_term *terms, size_t n, bool *none);

/* ---- lists ---- */

static hybrid_result hyb_term_lists_push(hyb_schema *s, hyb_term_lists *l, const hyb_term *terms, size_t n)
{
    hybrid_result r = HYB_GROW(s->rt, l->terms, l->capacity, l->n, l->n + n + 1, s->error); /* a list may be empty */
    if (!r) r = HYB_GROW(s->rt, l->begin, l->begin_capacity, l->count, l->count + 1, s->error);
    if (r) return r;
    l->begin[l->count++] = (uint32_t)l->n;
    if (n) memcpy(l->terms + l->n, terms, n * sizeof *terms);
    l->n += n;
    return HYBRID_OK;
}

HYB_INLINE size_t hyb_term_lists_size(const hyb_term_lists *l, size_t i)
{
    return (i + 1 < l->count ? l->begin[i + 1] : l->n) - l->begin[i];
}

static hyb_term hyb_term_of(hyb_term_kind kind, const hyb_json *node, uint32_t mask, uint32_t chain)
{
    hyb_term t;
    t.node = node;
    t.kind = (uint16_t)kind;
    t.mask = (uint16_t)mask;
    t.chain = chain;
    return t;
}

static int hyb_term_order(const void *a, const void *b)
{
    const hyb_term *x = (const hyb_term *)a, *y = (const hyb_term *)b;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    return (x->kind > y->kind) - (x->kind < y->kind);
}

/* ---- expanding ---- */

/* A list that is being replaced by others, in which some terms stand for the one at `at`. */
typedef struct hyb_expansion {
    hyb_schema *s;
    hyb_term_lists todo, *done;
    hyb_term *list, *fresh; /* the list; what stands for the term */
    size_t n, at, n_fresh, capacity, fresh_capacity, steps;
    hybrid_result failed;
} hyb_expansion;

static void hyb_expand_add(hyb_expansion *x, hyb_term_kind kind, const hyb_json *node, uint32_t mask)
{
    const uint32_t chain = x->list[x->at].chain + 1;
    if (x->failed) return;
    if (chain > HYB_SCHEMA_MAX_CHAIN)
        x->failed = hyb_schema_wrong(x->s, node, "it refers to itself, or to others, without end");
    if (!x->failed)
        x->failed = HYB_GROW(x->s->rt, x->fresh, x->fresh_capacity, x->n_fresh, x->n_fresh + 1, x->s->error);
    if (!x->failed) x->fresh[x->n_fresh++] = hyb_term_of(kind, node, mask, chain);
}

/* A new list: what was added stands for the term; and nothing is added yet to the next one. */
static void hyb_expand_put(hyb_expansion *x)
{
    hyb_term_lists *l = &x->todo;
    const size_t rest = x->n - x->at - 1;
    if (!x->failed && ++x->steps > HYB_SCHEMA_MAX_STEPS)
        x->failed = hyb_fail(x->s->error, HYBRID_ERROR_LIMIT,
                             "the schema has too many anyOf, oneOf, if, not that must hold together");
    if (!x->failed) x->failed = hyb_term_lists_push(x->s, l, x->list, x->at);
    if (!x->failed) x->failed = HYB_GROW(x->s->rt, l->terms, l->capacity, l->n, l->n + x->n_fresh + rest, x->s->error);
    if (!x->failed) {
        if (x->n_fresh) memcpy(l->terms + l->n, x->fresh, x->n_fresh * sizeof *x->fresh);
        l->n += x->n_fresh;
        if (rest) memcpy(l->terms + l->n, x->list + x->at + 1, rest * sizeof *x->list);
        l->n += rest;
    }
    HYB_STEPS(x->n);
    x->n_fresh = 0;
}

/* Every schema of a list must hold. */
static void hyb_expand_all(hyb_expansion *x, hyb_term_kind kind, const hyb_json *list)
{
    const hyb_json *v = hyb_json_first(list);
    uint32_t i;
    for (i = 0; i < list->n; i++, v = hyb_json_next(v)) hyb_expand_add(x, kind, v, 0);
}

/* A list of values: terms for one of them each where they have parts, one for all others. */
static bool hyb_json_scalars(const hyb_json *list, uint32_t *mask)
{
    const hyb_json *v = hyb_json_first(list);
    uint32_t i;
    bool all = true;
    for (i = 0, *mask = 0; i < list->n; i++, v = hyb_json_next(v)) {
        const uint32_t type = hyb_schema_type_of(v);
        if (v->type < HYB_JSON_ARRAY)
            *mask |= type;
        else
            all = false;
    }
    return all;
}

static void hyb_expand_list(hyb_expansion *x, const hyb_json *list)
{
    const hyb_json *v = hyb_json_first(list);
    uint32_t i, mask;
    hyb_json_scalars(list, &mask);
    for (i = 0; i < list->n && !x->failed; i++, v = hyb_json_next(v)) {
        if (v->type < HYB_JSON_ARRAY) continue;
        hyb_expand_add(x, HYB_TERM_LITERAL, v, hyb_schema_type_of(v));
        hyb_expand_put(x);
    }
    if (!mask) return;
    hyb_expand_add(x, HYB_TERM_SCALARS, list, mask);
    hyb_expand_put(x);
}

/* What an object must be when it has a member: dependencies of all kinds. */
static void hyb_expand_when(hyb_expansion *x, const hyb_json *key)
{
    const hyb_json *what = key + 1, *v = hyb_json_first(what);
    uint32_t i;
    hyb_expand_add(x, HYB_TERM_LACKS, key, HYB_IS_ANY);
    hyb_expand_put(x);
    hyb_expand_add(x, HYB_TERM_TYPES, key, HYB_IS_OBJECT);
    hyb_expand_add(x, HYB_TERM_HAS, key, HYB_IS_OBJECT);
    if (what->type != HYB_JSON_ARRAY) hyb_expand_add(x, HYB_TERM_SCHEMA, what, 0);
    for (i = 0; what->type == HYB_JSON_ARRAY && i < what->n; i++, v = hyb_json_next(v)) {
        if (v->type != HYB_JSON_STRING) {
            x->failed = hyb_schema_wrong(x->s, v, "the name of a member belongs here");
            return;
        }
        hyb_expand_add(x, HYB_TERM_HAS, v, HYB_IS_ANY);
    }
    hyb_expand_put(x);
}

static void hyb_expand_if(hyb_expansion *x, const hyb_json *schema)
{
    const hyb_json *condition = hyb_json_get(schema, "if"), *then = hyb_json_get(schema, "then");
    const hyb_json *otherwise = hyb_json_get(schema, "else");
    if (!then && !otherwise) {
        hyb_expand_put(x);
        return;
    }
    hyb_expand_add(x, HYB_TERM_SCHEMA, condition, 0);
    if (then) hyb_expand_add(x, HYB_TERM_SCHEMA, then, 0);
    hyb_expand_put(x);
    hyb_expand_add(x, HYB_TERM_NOT, condition, 0);
    if (otherwise) hyb_expand_add(x, HYB_TERM_SCHEMA, otherwise, 0);
    hyb_expand_put(x);
}

/* Whether two schemas have no value in common, as far as that is easy to see. */
static bool hyb_expand_apart(hyb_expansion *x, const hyb_json *a, const hyb_json *b)
{
    hyb_term both[2];
    bool none = false;
    both[0] = hyb_term_of(HYB_TERM_SCHEMA, a, 0, x->list[x->at].chain + 1);
    both[1] = hyb_term_of(HYB_TERM_SCHEMA, b, 0, x->list[x->at].chain + 1);
    if (!x->failed && x->s->asking < 3) {
        x->s->asking++;
        x->failed = hyb_alternatives_none(x->s, both, 2, &none);
        x->s->asking--;
    }
    return none;
}

/* Exactly one of a list: each of them, and none of the others that it does not exclude. */
static void hyb_expand_one(hyb_expansion *x, const hyb_json *list)
{
    const hyb_json *v = hyb_json_first(list), *other;
    uint32_t i, k;
    for (i = 0; i < list->n && !x->failed; i++, v = hyb_json_next(v)) {
        hyb_expand_add(x, HYB_TERM_SCHEMA, v, 0);
        for (k = 0, other = hyb_json_first(list); k < list->n; k++, other = hyb_json_next(other))
            if (k != i && !hyb_expand_apart(x, v, other)) hyb_expand_add(x, HYB_TERM_NOT, other, 0);
        hyb_expand_put(x);
    }
}

/* A schema must hold: all of what it says. */
static void hyb_expand_schema(hyb_expansion *x, const hyb_json *schema)
{
    hyb_schema *s = x->s;
    const hyb_json *ref = hyb_json_get(schema, "$ref"), *key = hyb_json_first(schema), *v, *target = NULL;
    const hyb_json *type = hyb_json_get(schema, "type");
    const bool only_ref = ref && !s->siblings;
    uint32_t i, k, mask;
    size_t known;
    if (ref && !x->failed) x->failed = hyb_schema_reference(s, ref, &target);
    if (x->failed) return;
    if (only_ref) {
        hyb_expand_add(x, HYB_TERM_SCHEMA, target, 0);
        hyb_expand_put(x);
        return;
    }
    if (hyb_schema_own_resource(s, schema)) {
        x->failed = hyb_schema_refuse(s, schema, "$id", "which begins a schema of its own: hybrid reads one at a time");
        return;
    }
    for (i = 0; i < schema->n && !x->failed; i++, key = hyb_json_next_member(key)) {
        known = hyb_keyword_find(key);
        if (hyb_keyword_note(key, known) && !hyb_json_is(key, "$schema")) continue;
        x->failed = known == HYB_COUNT(hyb_keywords) ? hyb_keyword_unknown(s, key) : hyb_keyword_check(s, key);
    }
    hyb_expand_add(x, HYB_TERM_BASE, schema, type ? hyb_schema_types(type) : HYB_IS_ANY);
    if (ref) hyb_expand_add(x, HYB_TERM_SCHEMA, target, 0);
    for (i = 0, key = hyb_json_first(schema); i < schema->n && !x->failed; i++, key = hyb_json_next_member(key)) {
        v = key + 1;
        if (hyb_json_is(key, "allOf"))
            hyb_expand_all(x, HYB_TERM_SCHEMA, v);
        else if (hyb_json_is(key, "anyOf"))
            hyb_expand_add(x, HYB_TERM_ANY, v, 0);
        else if (hyb_json_is(key, "oneOf"))
            hyb_expand_add(x, HYB_TERM_ONE, v, 0);
        else if (hyb_json_is(key, "const"))
            hyb_expand_add(x, HYB_TERM_LITERAL, v, hyb_schema_type_of(v));
        else if (hyb_json_is(key, "enum")) {
            const bool scalars = hyb_json_scalars(v, &mask);
            hyb_expand_add(x, scalars ? HYB_TERM_SCALARS : HYB_TERM_LIST, v, mask);
        } else if (hyb_json_is(key, "not"))
            hyb_expand_add(x, HYB_TERM_NOT, v, 0);
        else if (hyb_json_is(key, "if"))
            hyb_expand_add(x, HYB_TERM_IF, schema, 0);
        else if (hyb_json_is(key, "dependencies") || hyb_json_is(key, "dependentRequired") ||
                 hyb_json_is(key, "dependentSchemas"))
            for (k = 0, v = hyb_json_first(key + 1); k < key[1].n; k++, v = hyb_json_next_member(v))
                hyb_expand_add(x, HYB_TERM_WHEN, v, 0);
    }
    hyb_expand_put(x);
}

/* ---- what does not hold ---- */

/* One keyword that does not hold, the others being as they like. */
static void hyb_expand_not_key(hyb_expansion *x, const hyb_json *key)
{
    hyb_schema *s = x->s;
    const size_t known = hyb_keyword_find(key);
    const hyb_json *v = key + 1, *item = hyb_json_first(v);
    uint32_t i, mask;
    if (hyb_keyword_note(key, known)) return;
    if (known == HYB_COUNT(hyb_keywords)) x->failed = hyb_keyword_unknown(s, key);
    if (!x->failed) x->failed = hyb_keyword_check(s, key);
    if (x->failed) return;
    if (hyb_json_is(key, "type")) {
        mask = hyb_schema_types(v);
        if (mask & HYB_IS_WHOLE) mask |= HYB_IS_SPELLED; /* which may be whole */
        hyb_expand_add(x, HYB_TERM_TYPES, key, HYB_IS_ANY & ~mask);
    } else if (hyb_keywords[known].role == HYB_KEYWORD_SCALAR)
        hyb_expand_add(x, HYB_TERM_UNLESS, key, hyb_keywords[known].types);
    else if (hyb_json_is(key, "not"))
        hyb_expand_add(x, HYB_TERM_SCHEMA, v, 0);
    else if (hyb_json_is(key, "anyOf"))
        hyb_expand_all(x, HYB_TERM_NOT, v);
    else if ((hyb_json_is(key, "const") && v->type < HYB_JSON_ARRAY) ||
             (hyb_json_is(key, "enum") && hyb_json_scalars(v, &mask)))
        hyb_expand_add(x, HYB_TERM_UNLESS, key, HYB_IS_ANY & ~HYB_IS_SPELLED);
    else if (hyb_json_is(key, "allOf")) {
        for (i = 0; i < v->n; i++, item = hyb_json_next(item)) {
            hyb_expand_add(x, HYB_TERM_NOT, item, 0);
            hyb_expand_put(x);
        }
        return;
    } else if (hyb_json_is(key, "required")) {
        for (i = 0; i < v->n; i++, item = hyb_json_next(item)) {
            hyb_expand_add(x, HYB_TERM_TYPES, key, HYB_IS_OBJECT);
            hyb_expand_add(x, HYB_TERM_LACKS, item, HYB_IS_OBJECT);
            hyb_expand_put(x);
        }
        return;
    } else if (hyb_json_is(key, "properties")) {
        for (i = 0; i < v->n; i++, item = hyb_json_next_member(item)) {
            hyb_expand_add(x, HYB_TERM_HAS_OTHER, item, HYB_IS_OBJECT);
            hyb_expand_put(x);
        }
        return;
    } else {
        x->failed = hyb_schema_refuse(s, key, key->u.s,
                                      "inside of a not, an if or a oneOf whose branches have values "
                                      "in common: hybrid cannot turn it round");
        return;
    }
    hyb_expand_put(x);
}

static void hyb_expand_not(hyb_expansion *x, const hyb_json *schema)
{
    const hyb_json *ref = hyb_json_get(schema, "$ref"), *key = hyb_json_first(schema), *target = NULL;
    uint32_t i;
    if (ref) {
        if ((x->failed = hyb_schema_reference(x->s, ref, &target)) != HYBRID_OK) return;
        hyb_expand_add(x, HYB_TERM_NOT, target, 0);
        hyb_expand_put(x);
    }
    if (hyb_schema_own_resource(x->s, schema) && (!ref || x->s->siblings))
        x->failed =
            hyb_schema_refuse(x->s, schema, "$id", "which begins a schema of its own: hybrid reads one at a time");
    if (!ref || x->s->siblings)
        for (i = 0; i < schema->n && !x->failed; i++, key = hyb_json_next_member(key))
            if (!hyb_json_is(key, "$ref")) hyb_expand_not_key(x, key);
}

/* ---- the loop ---- */

/* Replaces the term at x->at. */
static void hyb_expand_term(hyb_expansion *x)
{
    const hyb_term t = x->list[x->at];
    const hyb_json *v;
    uint32_t i;
    if (t.kind == HYB_TERM_SCHEMA || t.kind == HYB_TERM_NOT) {
        if (t.node->type == HYB_JSON_BOOL) {
            if (t.node->u.b == (t.kind == HYB_TERM_SCHEMA)) hyb_expand_put(x);
        } else if (t.node->type != HYB_JSON_OBJECT)
            x->failed = hyb_schema_wrong(x->s, t.node, "a schema is an object, true or false");
        else if (t.kind == HYB_TERM_SCHEMA)
            hyb_expand_schema(x, t.node);
        else
            hyb_expand_not(x, t.node);
        return;
    }
    switch (t.kind) {
    case HYB_TERM_ANY:
        for (i = 0, v = hyb_json_first(t.node); i < t.node->n; i++, v = hyb_json_next(v)) {
            hyb_expand_add(x, HYB_TERM_SCHEMA, v, 0);
            hyb_expand_put(x);
        }
        break;
    case HYB_TERM_ONE: hyb_expand_one(x, t.node); break;
    case HYB_TERM_LIST: hyb_expand_list(x, t.node); break;
    case HYB_TERM_IF: hyb_expand_if(x, t.node); break;
    default: hyb_expand_when(x, t.node); break;
    }
}

/* A list without anything left to expand: goes to the others, unless it is there. */
static void hyb_expand_done(hyb_expansion *x)
{
    hyb_term_lists *l = x->done;
    size_t i, k;
    for (i = 0; i < l->count; i++) {
        const hyb_term *other = l->terms + l->begin[i];
        if (hyb_term_lists_size(l, i) != x->n) continue;
        for (k = 0; k < x->n && other[k].node == x->list[k].node && other[k].kind == x->list[k].kind; k++) {}
        if (k == x->n) return;
    }
    if (l->count == HYB_SCHEMA_MAX_LISTS)
        x->failed = hyb_fail(x->s->error, HYBRID_ERROR_LIMIT,
                             "the schema has more than %d ways in which one value can fit it: fewer anyOf, oneOf, if",
                             HYB_SCHEMA_MAX_LISTS);
    else
        x->failed = hyb_term_lists_push(x->s, l, x->list, x->n);
}

/* Takes the last list; terms that it has twice count once. Returns false when no value can be of the types that are
 * left. */
static bool hyb_expand_take(hyb_expansion *x)
{
    hyb_term_lists *l = &x->todo;
    const hyb_term *terms = l->terms + l->begin[l->count - 1];
    const size_t n = l->n - l->begin[l->count - 1];
    uint32_t mask = HYB_IS_ANY;
    size_t i, k;
    if ((x->failed = HYB_GROW(x->s->rt, x->list, x->capacity, 0, n, x->s->error)) != HYBRID_OK) return false;
    x->n = x->n_fresh = 0;
    x->at = SIZE_MAX;
    HYB_STEPS(n);
    for (i = 0; i < n; i++) {
        const bool flat = terms[i].kind >= HYB_TERM_BASE;
        for (k = 0; flat && k < x->n && (x->list[k].node != terms[i].node || x->list[k].kind != terms[i].kind); k++) {}
        if (flat && k < x->n) continue;
        if (flat) mask &= terms[i].mask;
        if (!flat && x->at == SIZE_MAX) x->at = x->n;
        x->list[x->n++] = terms[i];
    }
    l->n = l->begin[--l->count];
    return mask != 0;
}

/* The lists that a set of terms comes to. On failure done holds some. */
static hybrid_result hyb_schema_expand(hyb_schema *s, const hyb_term *terms, size_t n, hyb_term_lists *done)
{
    hyb_expansion x;
    memset(&x, 0, sizeof x);
    memset(done, 0, sizeof *done);
    x.s = s;
    x.done = done;
    x.failed = hyb_term_lists_push(s, &x.todo, terms, n);
    while (x.todo.count && !x.failed) {
        if (!hyb_expand_take(&x) || x.failed) continue;
        if (x.at == SIZE_MAX) {
            hyb_expand_done(&x);
            continue;
        }
        hyb_expand_term(&x);
    }
    hyb_term_lists_free(s, &x.todo);
    hyb_free(s->rt, x.list);
    hyb_free(s->rt, x.fresh);
    return x.failed;
}

/* ---- goals ---- */

static uint32_t hyb_goal_hash(const hyb_schema *s, const hyb_term *terms, size_t n)
{
    uint32_t h = (uint32_t)n;
    size_t i;
    for (i = 0; i < n; i++) {
        h = (h ^ (uint32_t)(terms[i].node - s->doc.root)) * 0x9E3779B1u;
        h = (h ^ h >> 15 ^ terms[i].kind) * 0x85EBCA77u;
    }
    return h ^ h >> 13;
}

static bool hyb_goal_same(const hyb_schema *s, uint32_t goal, const hyb_term *terms, size_t n)
{
    const hyb_term *own = s->terms + s->goals[goal].first;
    size_t i;
    if (s->goals[goal].n != n) return false;
    for (i = 0; i < n && own[i].node == terms[i].node && own[i].kind == terms[i].kind; i++) {}
    return i == n;
}

/* The number of the goal of these terms, which are put in order. Schemas that say nothing are left out. */
static hybrid_result hyb_goal_of(hyb_schema *s, hyb_term *terms, size_t n, uint32_t *goal)
{
    size_t i, kept = 0, at;
    hybrid_result r;
    if (n > 1) qsort(terms, n, sizeof *terms, hyb_term_order);
    for (i = 0; i < n; i++) {
        const hyb_json *v = terms[i].node;
        const bool holds = v->type == HYB_JSON_BOOL ? v->u.b : v->type == HYB_JSON_OBJECT && !v->n;
        if ((terms[i].kind == HYB_TERM_SCHEMA && holds) ||
            (terms[i].kind == HYB_TERM_NOT && v->type == HYB_JSON_BOOL && !holds))
            continue;
        if (!kept || hyb_term_order(&terms[kept - 1], &terms[i])) terms[kept++] = terms[i];
    }
    if (s->n_slots <= 2 * s->n_goals) {
        const size_t room = HYB_MAX(64, 4 * s->n_slots);
        uint32_t *slots = (uint32_t *)hyb_calloc(s->rt, room, sizeof *slots);
        if (!slots) return hyb_fail_memory(s->error, room * sizeof *slots);
        for (i = 0; i < s->n_goals; i++) {
            for (at = hyb_goal_hash(s, s->terms + s->goals[i].first, s->goals[i].n) & (room - 1); slots[at];)
                at = (at + 1) & (room - 1);
            slots[at] = (uint32_t)i + 1;
        }
        hyb_free(s->rt, s->slots);
        s->slots = slots;
        s->n_slots = room;
    }
    for (at = hyb_goal_hash(s, terms, kept) & (s->n_slots - 1); s->slots[at]; at = (at + 1) & (s->n_slots - 1))
        if (hyb_goal_same(s, *goal = s->slots[at] - 1, terms, kept)) return HYBRID_OK;
    if (s->n_goals == HYB_SCHEMA_MAX_GOALS)
        return hyb_fail(s->error, HYBRID_ERROR_LIMIT,
                        "the schema has more than %d sets of schemas that must hold together: fewer allOf, $ref",
                        HYB_SCHEMA_MAX_GOALS);
    if ((r = HYB_GROW(s->rt, s->goals, s->goal_capacity, s->n_goals, s->n_goals + 1, s->error)) != HYBRID_OK ||
        (r = HYB_GROW(s->rt, s->terms, s->term_capacity, s->n_terms, s->n_terms + kept + 1, s->error)) != HYBRID_OK)
        return r;
    *goal = (uint32_t)s->n_goals;
    s->goals[*goal].first = (uint32_t)s->n_terms;
    s->goals[*goal].n = (uint32_t)kept;
    s->goals[*goal].rule = HYB_DRAFT_NONE;
    if (kept) memcpy(s->terms + s->n_terms, terms, kept * sizeof *terms);
    s->n_terms += kept;
    s->slots[at] = (uint32_t)++s->n_goals;
    return HYBRID_OK;
}

/* Whether a goal holds a schema that is plainly false. */
static bool hyb_goal_never(const hyb_schema *s, uint32_t goal)
{
    const hyb_term *t = s->terms + s->goals[goal].first;
    uint32_t i;
    for (i = 0; i < s->goals[goal].n; i++)
        if (t[i].kind <= HYB_TERM_NOT && t[i].node->type == HYB_JSON_BOOL &&
            t[i].node->u.b != (t[i].kind == HYB_TERM_SCHEMA))
            return true;
    return false;
}
#endif
