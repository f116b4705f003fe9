/* text/grammar/forced: tokens that need no model, because the grammar leaves no choice of text.
 *
 *     the text must go on with    "name": "         and then with anything
 *     tokens that the mask has    "   "name   "n    all of them are beginnings of it: the text is the same with any
 *     the one that is taken       the first that the tokenizer makes of these bytes; the longest, where that is none of
 *                                 them (a tokenizer that begins every text with a space)
 *
 * Where a token goes beyond the bytes that are forced (` "A` for ` "`), the model has a choice, and makes it: so the
 * end of a forced span is cut as the model would, and no text is the worse for it. */
#ifndef HYB_TEXT_GRAMMAR_FORCED_C
#define HYB_TEXT_GRAMMAR_FORCED_C
#include "grammar.c"

enum { HYB_FORCED_BYTES = 96 }; /* that are looked at; a vocabulary whose tokens are longer has them as free text */

/* The longest token of the mask, the first of several; -1: one is longer than n bytes, which are those that come next.
 */
static int32_t hyb_forced_longest(const hybrid_lexicon *x, const uint32_t *mask, size_t n)
{
    int32_t longest = -1;
    size_t most = 0, i, id;
    for (i = 0; i < x->n_words; i++) {
        uint32_t bits = mask[i];
        for (id = 32 * i; bits; id++, bits >>= 1) {
            const size_t size = (bits & 1) ? x->spelling[id].bytes.size : 0;
            if ((bits & 1) && (!size || size > n)) return -1;
            if (size > most) longest = (int32_t)id;
            most = HYB_MAX(most, size);
        }
    }
    return longest;
}

/* *id: the token that comes next, without a choice; -1: there is one. tok: what the lexicon was made of. The matcher
 * stays where it is. Fails only for want of memory. */
static hybrid_result hyb_forced_token(hybrid_matcher *m, const hybrid_lexicon *x, const hybrid_tokenizer *tok,
                                      int32_t *id, hybrid_error *error)
{
    char text[HYB_FORCED_BYTES];
    int32_t ids[HYB_FORCED_BYTES], longest = -1;
    const uint32_t *mask;
    size_t size, n_words, n = 0;
    hybrid_result r = hyb_matcher_forced(m, text, sizeof text, &size, error);
    *id = -1;
    if (!r && !size) return HYBRID_OK;
    if (!r) r = hybrid_matcher_mask(m, x, &mask, &n_words, error);
    if (!r && (longest = hyb_forced_longest(x, mask, size)) < 0) return HYBRID_OK;
    if (!r) r = hybrid_tokenize(tok, text, size, 0, ids, HYB_COUNT(ids), &n, error);
    if (!r) *id = n && (mask[ids[0] / 32] >> ids[0] % 32 & 1) ? ids[0] : longest;
    return r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK;
}
#endif
