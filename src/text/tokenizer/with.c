/* text/tokenizer/with: the tokens that hold a text. */
#ifndef HYB_TEXT_TOKENIZER_WITH_C
#define HYB_TEXT_TOKENIZER_WITH_C
#include "../../api/sampler.h"
#include "tokenizer.c"

static bool hyb_spelled_with(hybrid_string s, const char *text)
{
    const size_t n = strlen(text);
    size_t i;
    for (i = 0; n && i + n <= s.size; i++)
        if (!memcmp(s.data + i, text, n)) return true;
    return false;
}

HYB_BORDER(size_t, hybrid_tokens_with,
           (const hybrid_tokenizer *tokenizer, const char *const *texts, size_t n_texts, int32_t *ids, size_t capacity),
           (tokenizer, texts, n_texts, ids, capacity))
{
    const int32_t n = tokenizer && texts ? hybrid_vocab_size(tokenizer) : 0;
    size_t found = 0, k;
    int32_t id;
    for (id = 0; id < n; id++) {
        const hybrid_string s = hybrid_token_bytes(tokenizer, id);
        for (k = 0; k < n_texts && !(texts[k] && hyb_spelled_with(s, texts[k])); k++) {}
        if (k == n_texts) continue;
        if (ids && found < capacity) ids[found] = id;
        found++;
    }
    return found;
}
#endif
