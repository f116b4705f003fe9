/* infer/drafter: whether a model can guess for another: it has the same tokens, and takes back what did not come. */
#ifndef HYB_INFER_DRAFTER_C
#define HYB_INFER_DRAFTER_C
#include "../model/model.c"
#include "context.c"

static bool hyb_token_same(const hybrid_tokenizer *a, const hybrid_tokenizer *b, int32_t id)
{
    const hybrid_string x = hybrid_token_bytes(a, id), y = hybrid_token_bytes(b, id);
    return x.size == y.size && (!x.size || !memcmp(x.data, y.data, x.size)) &&
           hybrid_token_kind(a, id) == hybrid_token_kind(b, id);
}

/* Vocabularies of one family may end with places that no text comes to, so that their sizes are round. */
static hybrid_result hyb_drafter_tokens(const hybrid_tokenizer *own, const hybrid_tokenizer *draft, hybrid_error *error)
{
    const int32_t n_own = hybrid_vocab_size(own), n_draft = hybrid_vocab_size(draft), both = HYB_MIN(n_own, n_draft);
    const hybrid_tokenizer *longer = n_own > n_draft ? own : draft;
    int32_t id;
    if (own == draft) return HYBRID_OK;
    for (id = 0; id < HYB_MAX(n_own, n_draft); id++) {
        if (id < both ? hyb_token_same(own, draft, id) : hybrid_token_kind(longer, id) == HYBRID_TOKEN_UNUSED) continue;
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the draft's model has other tokens than the stream's (%d and %d of them; they differ at token "
                        "%d): take a draft of the same family",
                        n_draft, n_own, id);
    }
    return HYBRID_OK;
}

/* A draft guesses for the streams of one context, which take turns in its batch. */
static hybrid_result hyb_drafter_check(const hybrid_context *own, const hybrid_context *draft, hybrid_error *error)
{
    if (draft == own || draft->streams)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the draft is a context that has streams itself: make one for the draft alone");
    if (draft->draft_of && draft->draft_of != own)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the draft guesses for streams of another context already: each context needs its own");
    if (draft->model->hp.arch->has & HYB_HAS_BOTH_WAYS)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "the draft's model (%s) is an encoder: it writes no text",
                        draft->model->hp.arch->name);
    if (draft->state.slots.n)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the draft's model (%s) carries a state from token to token, which only goes forward: a draft "
                        "takes back what did not come, so take one without",
                        draft->model->hp.arch->name);
    return hyb_drafter_tokens(hybrid_model_tokenizer(own->model), hybrid_model_tokenizer(draft->model), error);
}
#endif
