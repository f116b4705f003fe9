/* text/tokenizer/greedy: RWKV's way to cut a text: at every place the longest token that begins there, nothing is
 * merged.
 *
 * A search from each place on would read a long token again and again where only its beginning is in the text. So the
 * text is read from its end, by an automaton of the reversed tokens: what it knows at a byte is the longest token that
 * begins there, and the time is that of the text whatever the vocabulary. It is done in blocks, each of which is read
 * from so far after it that all tokens that begin in it are whole:
 *
 *     text     |----- block -----|-- longest token --|
 *     read                     <- <- <- <- <- <- <- <-
 */
#ifndef HYB_TEXT_TOKENIZER_GREEDY_C
#define HYB_TEXT_TOKENIZER_GREEDY_C
#include "bpe.c"

#define HYB_GREEDY_BLOCK 4096 /* bytes; more where a token is longer, so that at most every byte is read twice */

static hybrid_result hyb_vocab_make_words(hybrid_tokenizer *t, hybrid_error *error)
{
    hyb_automaton_source source;
    hybrid_string *strings = (hybrid_string *)hyb_alloc(t->rt, t->n_tokens * sizeof *strings);
    size_t i, n = 0;
    bool ok;
    t->word_ids = (int32_t *)hyb_alloc(t->rt, t->n_tokens * sizeof *t->word_ids);
    ok = strings && t->word_ids;
    for (i = 0; ok && i < t->n_tokens; i++) {
        const uint32_t begin = t->offsets[i], end = t->offsets[i + 1];
        if (begin == end || !hyb_token_mergeable(t, (int32_t)i)) continue;
        strings[n].data = (const char *)t->bytes + begin;
        strings[n].size = end - begin;
        t->word_ids[n++] = (int32_t)i;
    }
    memset(&source, 0, sizeof source);
    source.strings = strings;
    source.n = n;
    source.backwards = true;
    ok = ok && hyb_automaton_make(t->rt, &source, &t->words);
    hyb_free(t->rt, strings);
    if (ok) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for a vocabulary of %llu tokens",
                    (unsigned long long)t->n_tokens);
}

/* The longest token that begins at each of the n bytes at p, by its number in the automaton; -1: none does. */
static void hyb_greedy_block(const hybrid_tokenizer *t, const uint8_t *p, size_t n, const uint8_t *end, int32_t *words)
{
    const int32_t *best = t->words.best[0];
    uint32_t state = 0;
    size_t i = HYB_MIN((size_t)(end - p), n + t->longest);
    while (i-- > 0) {
        state = hyb_automaton_next(&t->words, state, p[i]);
        if (i < n) words[i] = best[state];
    }
}

/* The tokens of a block from its first byte on. Returns the bytes that they are: the last may end after the block. */
static size_t hyb_greedy_emit(hyb_tokenize_job *job, const uint8_t *p, size_t n, const int32_t *words)
{
    const hybrid_tokenizer *t = job->t;
    size_t i = 0, length;
    int32_t id;
    for (; i < n; i += length) {
        length = 1;
        if (words[i] >= 0) {
            id = t->word_ids[words[i]];
            length = t->offsets[id + 1] - t->offsets[id];
        } else
            id = t->byte_ids[p[i]] >= 0 ? t->byte_ids[p[i]] : t->roles[HYBRID_ROLE_UNKNOWN];
        if (id >= 0) hyb_emit_token(job, id);
    }
    return i;
}

static void hyb_tokenize_greedy(hyb_tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    const hybrid_tokenizer *t = job->t;
    size_t room = HYB_MIN((size_t)(end - p), HYB_MAX((size_t)t->longest, (size_t)HYB_GREEDY_BLOCK)), n;
    int32_t *words = (int32_t *)hyb_alloc(t->rt, room * sizeof *words);
    job->out_of_memory = !words;
    for (; words && p < end; p += hyb_greedy_emit(job, p, n, words)) {
        n = HYB_MIN(room, (size_t)(end - p));
        hyb_greedy_block(t, p, n, end, words);
    }
    hyb_free(t->rt, words);
}
#endif
