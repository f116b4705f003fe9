/* infer/stream/form: the form that a grammar gives an answer: what may come next, and what must. */
#ifndef HYB_INFER_STREAM_FORM_C
#define HYB_INFER_STREAM_FORM_C
#include "../stream.c"

#ifdef HYBRID_NO_GRAMMAR
static void hyb_stream_form_end(hybrid_stream *s) { HYB_UNUSED(s); }
static void hyb_stream_form_begin(hybrid_stream *s) { HYB_UNUSED(s); }
static bool hyb_stream_form_complete(const hybrid_stream *s)
{
    HYB_UNUSED(s);
    return false;
}
static hybrid_result hyb_stream_form_mask(hybrid_stream *s, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static hybrid_result hyb_stream_form_accept(hybrid_stream *s, int32_t id, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(id);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static hybrid_result hyb_stream_force(hybrid_stream *s, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
#else
static void hyb_stream_form_end(hybrid_stream *s)
{
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    hybrid_matcher_destroy(s->form);
    hybrid_grammar_destroy(s->form_grammar);
    hybrid_lexicon_destroy(s->lexicon);
}

static void hyb_stream_form_begin(hybrid_stream *s)
{
    hybrid_sampler_set_mask(s->sampler, NULL, 0);
    if (s->next_form != s->form) hybrid_matcher_destroy(s->form);
    hybrid_grammar_destroy(s->form_grammar);
    s->form = s->once ? s->once : s->next_form;
    s->form_grammar = s->once_grammar;
    s->once = NULL;
    s->once_grammar = NULL;
    hybrid_matcher_reset(s->form);
}

static bool hyb_stream_form_complete(const hybrid_stream *s) { return s->form && hyb_matcher_complete(s->form); }

/* The sampler chooses among what the form allows. */
static hybrid_result hyb_stream_form_mask(hybrid_stream *s, hybrid_error *error)
{
    const uint32_t *mask = NULL;
    size_t n = 0;
    hybrid_result r = s->form ? hybrid_matcher_mask(s->form, s->lexicon, &mask, &n, error) : HYBRID_OK;
    if (!r) hybrid_sampler_set_mask(s->sampler, mask, n);
    return r;
}

static hybrid_result hyb_stream_form_accept(hybrid_stream *s, int32_t id, hybrid_error *error)
{
    return s->form ? hybrid_matcher_accept_token(s->form, s->lexicon, id, error) : HYBRID_OK;
}

/* Chooses the next token if the form leaves no choice: the model computes it later, with those that follow. */
static hybrid_result hyb_stream_force(hybrid_stream *s, hybrid_error *error)
{
    int32_t id;
    hybrid_result r;
    if (!s->form || s->sample_forced) return HYBRID_OK;
    if ((r = hyb_forced_token(s->form, s->lexicon, hybrid_model_tokenizer(s->model), &id, error)) != HYBRID_OK)
        return r;
    if (id < 0) return HYBRID_OK;
    if ((r = hybrid_matcher_accept_token(s->form, s->lexicon, id, error)) != HYBRID_OK)
        return r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK;
    s->chosen = id;
    s->chosen_logprob = 0;
    return HYBRID_OK;
}

/* A matcher of a grammar, and a lexicon if there is none yet. */
static hybrid_result hyb_stream_form(hybrid_stream *s, const hybrid_grammar *grammar, hybrid_matcher **form,
                                     hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_lexicon *lexicon = s->lexicon;
    hybrid_result r = HYBRID_OK;
    if (!lexicon) r = hybrid_lexicon_create(tok, &lexicon, error);
    if (!r) r = hybrid_matcher_create(grammar, form, error);
    if (r && lexicon != s->lexicon)
        hybrid_lexicon_destroy(lexicon);
    else
        s->lexicon = lexicon;
    return r;
}

static hybrid_result hyb_stream_set_grammar(hybrid_stream *s, const hybrid_grammar *grammar, hybrid_error *error)
{
    hybrid_matcher *form = NULL;
    hybrid_result r = grammar ? hyb_stream_form(s, grammar, &form, error) : HYBRID_OK;
    if (r) return r;
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    s->next_form = form;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_stream_set_grammar,
           (hybrid_stream * stream, const hybrid_grammar *grammar, hybrid_error *error), (stream, grammar, error))
{
    hybrid_result r;
    if (!stream) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_set_grammar: stream is NULL");
    if ((r = hyb_stream_enter(stream, "hybrid_stream_set_grammar", error)) != HYBRID_OK) return r;
    r = hyb_stream_set_grammar(stream, grammar, error);
    hyb_stream_leave(stream);
    return r;
}
#endif
#endif
