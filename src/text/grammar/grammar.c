/* text/grammar/grammar: what the program sees: grammars, and matchers of them. */
#ifndef HYB_TEXT_GRAMMAR_GRAMMAR_C
#define HYB_TEXT_GRAMMAR_GRAMMAR_C
#include "../../api/grammar.h"
#include "../../core/lifetime.c"
#include "gbnf.c"
#include "layout.c"
#include "mask.c"
#include "trigger.c"

struct hybrid_grammar {
    hybrid_runtime *rt;
    hyb_rules rules;
    hyb_trigger trigger;
    char *text; /* that it was read from, for saved games */
    size_t size;
    bool schema;
};

enum {
    HYB_MASKS = 32,
    HYB_PLACES = 256 /* states whose masks are known, by their last bits */
};

/* A mask that came up lately, and what it came of. */
typedef struct hyb_mask {
    uint32_t *words;   /* (n_words), and behind them */
    hyb_stretch *ranges; /* (n, HYB_ALLOWED_RANGES at most) */
    size_t n;
    hyb_common common;   /* beside them */
    bool filled;         /* there was more than that */
    uint32_t used, hash; /* used: by the clock; 0: there is no mask */
    uint32_t round;      /* counts what it was used for */
} hyb_mask;

typedef struct hyb_masks {
    const hybrid_lexicon *lexicon;
    uint32_t *stack;     /* (deepest + 1), and behind them */
    uint32_t *found;     /* (HYB_FOUND_TOKENS) */
    uint32_t *marks;     /* (hyb_marks_words) */
    hyb_stretch *ranges; /* (HYB_ALLOWED_RANGES) of the mask that is made */
    hyb_mask kept[HYB_MASKS];
    struct {
        uint32_t state, mask, round;
    } places[HYB_PLACES]; /* mask: one more than its number; 0: none */
    uint32_t clock, forgotten;
    uint32_t last; /* one more than the number of the mask that was used last; 0: none */
    uint64_t visited; /* nodes of the trees, in all */
} hyb_masks;

struct hybrid_matcher {
    const hybrid_grammar *grammar;
    hybrid_runtime *rt;
    hyb_match match;
    hyb_masks masks;
    uint32_t state;
    size_t heard; /* bytes of the trigger that the text ends with; all of them: it has occurred */
    uint64_t in_use; /* the allocator may not call back */
};

/* ---- grammars ---- */

static hybrid_result hyb_grammar_gbnf(hybrid_grammar *g, const char *text, size_t size, hybrid_error *error)
{
    hyb_draft draft;
    hyb_gbnf_name *names = NULL;
    uint32_t circle = HYB_DRAFT_NONE;
    bool empty = false;
    hybrid_result r;
    hyb_draft_begin(&draft, g->rt, error);
    hyb_gbnf_read(&draft, text, size, &names);
    if (g->trigger.size && !draft.failed) hyb_trigger_before(&g->trigger, &draft);
    r = hyb_rules_make(&draft, &g->rules, &circle, &empty);
    if (circle == g->rules.n_rules - 1 && g->trigger.size) circle = 0; /* root, which has another place then */
    if (!r && circle != HYB_DRAFT_NONE)
        r = hyb_fail(error, HYBRID_ERROR_FORMAT,
                     "GBNF, line %u: the rule \"%.*s\" can begin with itself (left recursion): let it end with itself, "
                     "or repeat with *",
                     names[circle].line, (int)HYB_MIN(names[circle].size, 64), names[circle].text);
    else if (!r && empty)
        r = hyb_fail(error, HYBRID_ERROR_FORMAT, "GBNF: no text can come of the rule \"root\": it never ends");
    hyb_free(g->rt, names);
    hyb_draft_free(&draft);
    return r;
}

static hybrid_result hyb_grammar_schema(hybrid_grammar *g, const char *text, size_t size, hybrid_error *error)
{
    hyb_draft draft;
    uint32_t circle = HYB_DRAFT_NONE; /* there is none: a value begins with a byte of its own */
    bool empty = false;
    hybrid_result r;
    hyb_draft_begin(&draft, g->rt, error);
    hyb_schema_read(&draft, text, size);
    if (g->trigger.size && !draft.failed) hyb_trigger_before(&g->trigger, &draft);
    r = hyb_rules_make(&draft, &g->rules, &circle, &empty);
    if (!r && empty) r = hyb_fail(error, HYBRID_ERROR_FORMAT, "no value fits the schema: it contradicts itself");
    hyb_draft_free(&draft);
    return r;
}

static hybrid_result hyb_grammar_read(hybrid_grammar *g, const hybrid_grammar_desc *d, hybrid_error *error)
{
    const char *text = d->schema ? d->schema : d->gbnf;
    const size_t size = d->schema ? d->schema_size : d->gbnf_size;
    hybrid_result r = d->trigger ? hyb_trigger_make(&g->trigger, d->trigger, error) : HYBRID_OK;
    if (r) return r;
    g->schema = d->schema != NULL;
    g->size = size ? size : strlen(text);
    if (!(g->text = (char *)hyb_alloc(g->rt, g->size))) return hyb_fail_memory(error, g->size);
    if (g->size) memcpy(g->text, text, g->size);
    return g->schema ? hyb_grammar_schema(g, text, g->size, error) : hyb_grammar_gbnf(g, text, g->size, error);
}

HYB_BORDER(hybrid_result, hybrid_grammar_create,
           (hybrid_runtime * runtime, const hybrid_grammar_desc *desc, hybrid_grammar **grammar, hybrid_error *error),
           (runtime, desc, grammar, error))
{
    hybrid_grammar *g;
    hybrid_runtime *rt;
    hybrid_result r;
    if (grammar) *grammar = NULL;
    if (!desc || !grammar)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_grammar_create: %s is NULL", desc ? "grammar" : "desc");
    if (!desc->gbnf == !desc->schema)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_grammar_create: there is %s to read: give one of them",
                        desc->gbnf ? "both gbnf and schema" : "neither gbnf nor schema");
    if ((r = hyb_runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(g = (hybrid_grammar *)hyb_calloc(rt, 1, sizeof *g))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *g);
    }
    g->rt = rt;
    if ((r = hyb_grammar_read(g, desc, error)) != HYBRID_OK) {
        hybrid_grammar_destroy(g);
        return r;
    }
    *grammar = g;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_grammar_destroy, (hybrid_grammar * grammar), (grammar))
{
    hybrid_runtime *rt;
    if (!grammar) return;
    rt = grammar->rt;
    if (grammar->rules.rt) hyb_rules_free(&grammar->rules);
    hyb_free(rt, grammar->text);
    hyb_free(rt, grammar);
    hyb_runtime_release(rt);
}

/* ---- matchers ---- */

static void hyb_masks_free(hybrid_runtime *rt, hyb_masks *k)
{
    int i;
    for (i = 0; i < HYB_MASKS; i++) hyb_free(rt, k->kept[i].words);
    hyb_free(rt, k->stack);
    hyb_free(rt, k->ranges);
}

static hybrid_result hyb_matcher_enter(hybrid_matcher *m, const char *function, hybrid_error *error)
{
    if (!m) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: matcher is NULL", function);
    if (hyb_busy(m->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the matcher is in use: its allocator called it again",
                        function);
    m->in_use = hyb_process();
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_matcher_create,
           (const hybrid_grammar *grammar, hybrid_matcher **matcher, hybrid_error *error), (grammar, matcher, error))
{
    hybrid_matcher *m;
    hybrid_runtime *rt;
    hybrid_result r;
    if (matcher) *matcher = NULL;
    if (!grammar || !matcher)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_matcher_create: %s is NULL",
                        grammar ? "matcher" : "grammar");
    if ((r = hyb_runtime_retain(grammar->rt, &rt, error)) != HYBRID_OK) return r;
    m = (hybrid_matcher *)hyb_calloc(rt, 1, sizeof *m);
    r = m ? hyb_match_make(&m->match, &grammar->rules, &m->state, error) : hyb_fail_memory(error, sizeof *m);
    if (r) {
        hyb_free(rt, m);
        hyb_runtime_release(rt);
        return r;
    }
    m->grammar = grammar;
    m->rt = rt;
    *matcher = m;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_matcher_destroy, (hybrid_matcher * matcher), (matcher))
{
    hybrid_runtime *rt;
    hybrid_error error;
    if (!matcher) return;
    rt = matcher->rt;
    if (hyb_matcher_enter(matcher, "hybrid_matcher_destroy", &error)) {
        hyb_log(rt, HYBRID_LOG_ERROR, "%s; it was not destroyed", error.message);
        return;
    }
    hyb_match_free(&matcher->match);
    hyb_masks_free(rt, &matcher->masks);
    hyb_free(rt, matcher);
    hyb_runtime_release(rt);
}

/* Whether the text is free of the grammar yet. */
static bool hyb_matcher_free(const hybrid_matcher *m) { return m->heard < m->grammar->trigger.size; }

/* The state, and what of the trigger was heard, after bytes; as hyb_match_bytes. */
static hybrid_result hyb_matcher_bytes(hybrid_matcher *m, const uint8_t *p, size_t size, size_t *n,
                                       hybrid_error *error)
{
    const hybrid_result r = hyb_match_bytes(&m->match, &m->state, p, size, n, error);
    size_t i;
    for (i = 0; i < size && !r && hyb_matcher_free(m); i++)
        m->heard = hyb_trigger_next(&m->grammar->trigger, m->heard, p[i]);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_matcher_accept,
           (hybrid_matcher * matcher, const void *bytes, size_t size, hybrid_error *error),
           (matcher, bytes, size, error))
{
    const uint8_t *p = (const uint8_t *)bytes;
    hybrid_result r = hyb_matcher_enter(matcher, "hybrid_matcher_accept", error);
    size_t n = 0;
    if (r) return r;
    if (!bytes && size)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_matcher_accept: bytes is NULL");
    else
        r = hyb_matcher_bytes(matcher, p, size, &n, error);
    if (r == HYBRID_ERROR_FORMAT)
        r = hyb_fail_at(error, r, n, "the grammar does not allow byte %llu of this text, 0x%02X%s",
                        (unsigned long long)n, p[n],
                        n || !hyb_match_end(&matcher->match, matcher->state) ? "" : ": the text was complete");
    matcher->in_use = 0;
    return r;
}

/* ---- tokens ---- */

/* The lexicon is another one than before. */
static hybrid_result hyb_masks_begin(hybrid_matcher *m, const hybrid_lexicon *x, hybrid_error *error)
{
    const uint64_t visited = m->masks.visited;
    const size_t n = (size_t)x->deepest + 1 + HYB_FOUND_TOKENS + hyb_marks_words(x);
    uint32_t *stack = (uint32_t *)hyb_calloc(m->rt, n, sizeof *stack);
    hyb_stretch *ranges = (hyb_stretch *)hyb_calloc(m->rt, HYB_ALLOWED_RANGES, sizeof *ranges);
    if (!stack || !ranges) {
        hyb_free(m->rt, stack);
        hyb_free(m->rt, ranges);
        return hyb_fail_memory(error, HYB_ALLOWED_RANGES * sizeof *ranges + n * sizeof *stack);
    }
    hyb_masks_free(m->rt, &m->masks);
    memset(&m->masks, 0, sizeof m->masks);
    m->masks.stack = stack;
    m->masks.found = stack + x->deepest + 1;
    m->masks.marks = m->masks.found + HYB_FOUND_TOKENS;
    m->masks.ranges = ranges;
    m->masks.lexicon = x;
    m->masks.visited = visited;
    return HYBRID_OK;
}

/* The mask that has not been used for the longest time, with memory. */
static hyb_mask *hyb_masks_oldest(hybrid_matcher *m, hybrid_error *error)
{
    hyb_mask *oldest = m->masks.kept;
    const size_t size = m->masks.lexicon->n_words * sizeof *oldest->words + HYB_ALLOWED_RANGES * sizeof *oldest->ranges;
    int i;
    for (i = 1; i < HYB_MASKS; i++)
        if (m->masks.kept[i].used < oldest->used) oldest = &m->masks.kept[i];
    if (!oldest->words && !(oldest->words = (uint32_t *)hyb_alloc(m->rt, size))) {
        hyb_fail_memory(error, size);
        return NULL;
    }
    oldest->ranges = (hyb_stretch *)(void *)(oldest->words + m->masks.lexicon->n_words);
    return oldest;
}

/* Makes the mask of the one that was used last: nearly all tokens are often the same. False: there is none, or they are
 * too many. */
static bool hyb_masks_change(const hyb_masks *k, hyb_mask *mask, const hyb_allowed *a)
{
    const hyb_mask *last = k->last ? &k->kept[k->last - 1] : NULL;
    if (!last || !last->used || last->filled || a->filled) return false;
    if (memcmp(&last->common, &a->common, sizeof a->common)) return false;
    memcpy(mask->words, last->words, a->x->n_words * sizeof *mask->words);
    return hyb_ranges_turn(a->x->lists, last->ranges, last->n, a->ranges, a->n,
                           (a->common.end ? a->x->n_words : 0) + hyb_ranges_size(a->ranges, a->n) / 2, mask->words);
}

/* The mask of what a state allows: one that is there, or this one. */
static hyb_mask *hyb_masks_take(hyb_masks *k, hyb_mask *mask, const hyb_allowed *a)
{
    uint32_t hash = a->common.end;
    size_t i;
    for (i = 0; i < 3; i++) hash = (hash ^ a->common.refused[i]) * 0x9E3779B1u;
    for (i = 0; i < a->n; i++) hash = ((hash ^ a->ranges[i].first) * 0x9E3779B1u ^ a->ranges[i].end) * 0x85EBCA77u;
    for (i = 0; i < HYB_MASKS && !a->filled; i++) {
        hyb_mask *other = &k->kept[i];
        if (other->used && other->hash == hash && other->n == a->n && !other->filled &&
            !memcmp(&other->common, &a->common, sizeof a->common) &&
            !memcmp(other->ranges, a->ranges, a->n * sizeof *a->ranges))
            return other;
    }
    if (!hyb_masks_change(k, mask, a)) {
        if (!a->filled) hyb_common_begin(a->x, &a->common, mask->words);
        hyb_allowed_fill(a->x, a->ranges, a->n, mask->words);
    }
    mask->n = a->filled ? 0 : a->n;
    mask->filled = a->filled;
    mask->common = a->common;
    mask->hash = hash;
    mask->round++;
    if (mask->n) memcpy(mask->ranges, a->ranges, a->n * sizeof *a->ranges);
    return mask;
}

/* Finds what the state allows, and its mask. */
static hybrid_result hyb_matcher_mask_new(hybrid_matcher *m, hyb_mask **mask, hybrid_error *error)
{
    hyb_masks *k = &m->masks;
    hyb_mask *oldest = hyb_masks_oldest(m, error);
    hyb_allowed a;
    hybrid_result r;
    uint32_t at = m->state;
    if (!oldest) return HYBRID_ERROR_MEMORY;
    memset(&a, 0, sizeof a);
    a.m = &m->match;
    a.x = k->lexicon;
    a.stack = k->stack;
    a.mask = oldest->words;
    a.ranges = k->ranges;
    a.found = k->found;
    a.marks = k->marks;
    a.error = error;
    oldest->used = 0;
    m->match.full = false;
    r = hyb_allowed_find(&a, m->state, hyb_matcher_free(m));
    if (r && hyb_match_again(&m->match, &m->state, &at)) r = hyb_allowed_find(&a, m->state, hyb_matcher_free(m));
    k->visited += a.visited;
    if (!r) *mask = hyb_masks_take(k, oldest, &a);
    return r;
}

static hybrid_result hyb_matcher_mask(hybrid_matcher *m, const hybrid_lexicon *x, const uint32_t **words,
                                      hybrid_error *error)
{
    hyb_masks *k = &m->masks;
    hyb_mask *mask = NULL;
    hybrid_result r = HYBRID_OK;
    size_t at = m->state % HYB_PLACES;
    if (k->lexicon != x && (r = hyb_masks_begin(m, x, error)) != HYBRID_OK) return r;
    if (k->forgotten != m->match.n_forgotten) memset(k->places, 0, sizeof k->places); /* other numbers */
    k->forgotten = m->match.n_forgotten;
    if (k->places[at].mask && k->places[at].state == m->state) mask = &k->kept[k->places[at].mask - 1];
    if (!mask || !mask->used || mask->round != k->places[at].round) {
        if ((r = hyb_matcher_mask_new(m, &mask, error)) != HYBRID_OK) return r;
        if (k->forgotten != m->match.n_forgotten) memset(k->places, 0, sizeof k->places);
        k->forgotten = m->match.n_forgotten;
        at = m->state % HYB_PLACES;
        k->places[at].state = m->state;
        k->places[at].mask = (uint32_t)(mask - k->kept) + 1;
        k->places[at].round = mask->round;
    }
    mask->used = ++k->clock;
    k->last = (uint32_t)(mask - k->kept) + 1;
    *words = mask->words;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_matcher_mask,
           (hybrid_matcher * matcher, const hybrid_lexicon *lexicon, const uint32_t **mask, size_t *n_words,
            hybrid_error *error),
           (matcher, lexicon, mask, n_words, error))
{
    hybrid_result r;
    if (mask) *mask = NULL;
    if (n_words) *n_words = 0;
    if (!lexicon || !mask || !n_words)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_matcher_mask: lexicon, mask or n_words is NULL");
    if ((r = hyb_matcher_enter(matcher, "hybrid_matcher_mask", error)) != HYBRID_OK) return r;
    r = hyb_matcher_mask(matcher, lexicon, mask, error);
    if (!r) *n_words = lexicon->n_words;
    matcher->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_matcher_accept_token,
           (hybrid_matcher * matcher, const hybrid_lexicon *lexicon, int32_t id, hybrid_error *error),
           (matcher, lexicon, id, error))
{
    hybrid_string s = { NULL, 0 };
    hybrid_result r;
    size_t i, n;
    if (!lexicon) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_matcher_accept_token: lexicon is NULL");
    if ((r = hyb_matcher_enter(matcher, "hybrid_matcher_accept_token", error)) != HYBRID_OK) return r;
    if (id >= 0 && (size_t)id < lexicon->n_tokens) s = lexicon->spelling[id].bytes;
    if (!s.size && hyb_matcher_free(matcher)) s = hyb_lexicon_control(lexicon, id);
    for (i = 0; i < lexicon->n_ends && lexicon->ends[i] != id; i++) {}
    if (i < lexicon->n_ends)
        r = hyb_match_end(&matcher->match, matcher->state) ? HYBRID_OK : HYBRID_ERROR_FORMAT;
    else
        r = s.size ? hyb_matcher_bytes(matcher, (const uint8_t *)s.data, s.size, &n, error) : HYBRID_ERROR_FORMAT;
    if (r == HYBRID_ERROR_FORMAT) r = hyb_fail(error, r, "the grammar does not allow token %d here", (int)id);
    matcher->in_use = 0;
    return r;
}

/* A matcher may go ahead, by tokens that may not come after all, and come back to where it stood. Returns what of the
 * trigger was heard there. */
static size_t hyb_matcher_go_ahead(hybrid_matcher *m)
{
    m->match.kept = m->state;
    return m->heard;
}
static void hyb_matcher_come_back(hybrid_matcher *m, size_t heard)
{
    m->state = m->match.kept;
    m->match.kept = HYB_MATCH_DEAD;
    m->heard = heard;
}

/* Whether the text can only end here. */
static bool hyb_matcher_complete(const hybrid_matcher *m)
{
    return hyb_match_end(&m->match, m->state) && !m->match.sets[m->match.state_set[m->state]].n;
}

HYB_BORDER(bool, hybrid_matcher_can_end, (const hybrid_matcher *matcher), (matcher))
{
    return matcher && !hyb_busy(matcher->in_use) && hyb_match_end(&matcher->match, matcher->state);
}

/* The bytes that must come next, *n of them. */
static hybrid_result hyb_matcher_forced(hybrid_matcher *m, char *text, size_t capacity, size_t *n, hybrid_error *error)
{
    uint32_t at = m->state;
    hybrid_result r = HYBRID_OK;
    int byte;
    for (*n = 0; *n < capacity; ++*n) {
        if ((r = hyb_match_only(&m->match, at, &byte, error)) != HYBRID_OK || byte < 0) break;
        text[*n] = (char)byte;
        if ((r = hyb_match_next(&m->match, at, (uint8_t)byte, &at, error)) != HYBRID_OK) break;
    }
    return r;
}

HYB_BORDER(size_t, hybrid_matcher_forced, (hybrid_matcher * matcher, char *text, size_t capacity),
           (matcher, text, capacity))
{
    size_t n = 0;
    if (!text || hyb_matcher_enter(matcher, "hybrid_matcher_forced", NULL)) return 0;
    hyb_matcher_forced(matcher, text, capacity, &n, NULL);
    matcher->in_use = 0;
    return n;
}

HYB_BORDER_VOID(hybrid_matcher_reset, (hybrid_matcher * matcher), (matcher))
{
    if (!matcher || hyb_busy(matcher->in_use)) return;
    matcher->state = matcher->match.start;
    matcher->heard = 0;
}
#endif
