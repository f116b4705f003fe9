/* text/grammar/grammar: what the program sees: grammars, and matchers of them. */
#ifndef HYB_TEXT_GRAMMAR_GRAMMAR_C
#define HYB_TEXT_GRAMMAR_GRAMMAR_C
#include "../../api/grammar.h"
#include "../../core/lifetime.c"
#include "gbnf.c"
#include "match.c"

struct hybrid_grammar {
    hybrid_runtime *rt;
    hyb_rules rules;
};

struct hybrid_matcher {
    const hybrid_grammar *grammar;
    hybrid_runtime *rt;
    hyb_match match;
    uint32_t state;
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
    r = hyb_rules_make(&draft, &g->rules, &circle, &empty);
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

static hybrid_result hyb_grammar_read(hybrid_grammar *g, const hybrid_grammar_desc *d, hybrid_error *error)
{
    return hyb_grammar_gbnf(g, d->gbnf, d->gbnf_size ? d->gbnf_size : strlen(d->gbnf), error);
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
    if (!desc->gbnf) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_grammar_create: there is no gbnf to read");
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
    hyb_free(rt, grammar);
    hyb_runtime_release(rt);
}

/* ---- matchers ---- */

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
    hyb_free(rt, matcher);
    hyb_runtime_release(rt);
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
        r = hyb_match_bytes(&matcher->match, &matcher->state, p, size, &n, error);
    if (r == HYBRID_ERROR_FORMAT)
        r = hyb_fail_at(error, r, n, "the grammar does not allow byte %llu of this text, 0x%02X%s",
                        (unsigned long long)n, p[n],
                        n || !hyb_match_end(&matcher->match, matcher->state) ? "" : ": the text was complete");
    matcher->in_use = 0;
    return r;
}

HYB_BORDER(bool, hybrid_matcher_can_end, (const hybrid_matcher *matcher), (matcher))
{
    return matcher && !hyb_busy(matcher->in_use) && hyb_match_end(&matcher->match, matcher->state);
}

HYB_BORDER(size_t, hybrid_matcher_forced, (hybrid_matcher * matcher, char *text, size_t capacity),
           (matcher, text, capacity))
{
    size_t n = 0;
    uint32_t at;
    int byte;
    if (!text || hyb_matcher_enter(matcher, "hybrid_matcher_forced", NULL)) return 0;
    for (at = matcher->state; n < capacity && (byte = hyb_match_only(&matcher->match, at)) >= 0; n++) {
        text[n] = (char)byte;
        if (hyb_match_next(&matcher->match, at, (uint8_t)byte, &at, NULL)) break;
    }
    matcher->in_use = 0;
    return n;
}

HYB_BORDER_VOID(hybrid_matcher_reset, (hybrid_matcher * matcher), (matcher))
{
    if (matcher && !hyb_busy(matcher->in_use)) matcher->state = matcher->match.start;
}
#endif
