/* text/tokenizer/wordpiece: BERT's way to cut a text (Devlin et al. 2018; Wu et al. 2016).
 *
 *     "Déjà-vu\t雪!"        characters: controls left out, letters made small and without their marks,
 *     deja | - | vu | 雪 | !     words: white space, punctuation and Chinese characters cut
 *     [ de][ja] [ -] [ vu] [ 雪] [ !]   pieces: the longest token that a word begins with, then the longest that goes
 * on
 *
 * A word of which some part is no token is one unknown token, and so is one of more than HYB_WORDPIECE_CHARS
 * characters. In the tables a token that begins a word has a space before it; one that goes on in it has not. */
#ifndef HYB_TEXT_TOKENIZER_WORDPIECE_C
#define HYB_TEXT_TOKENIZER_WORDPIECE_C
#include "../../core/utf8.c"
#include "bpe.c"
#include "normalize.c"
#include "wordpiece_data.c"

enum { HYB_WORDPIECE_CHARS = 100 };

/* A word on its way, behind a space. */
typedef struct hyb_wordpiece {
    hyb_tokenize_job *job;
    size_t n, n_chars;                          /* bytes, with the space; characters */
    uint8_t bytes[1 + 4 * HYB_WORDPIECE_CHARS]; /* the first characters of a word that is too long */
} hyb_wordpiece;

/* The run of a table of runs of `width` numbers that holds a character, or NULL. */
static const uint32_t *hyb_wordpiece_run(const uint32_t *table, size_t count, size_t width, uint32_t c)
{
    size_t low = 0, high = count / width;
    const uint32_t *run;
    while (low < high) { /* the last run that begins at c or before */
        const size_t middle = (low + high) / 2;
        if (table[middle * width] <= c)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low) return NULL;
    run = table + (low - 1) * width;
    return c - run[0] < run[1] / 2 && !(run[1] % 2 && (c - run[0]) % 2) ? run : NULL;
}
#define HYB_WORDPIECE_IN(table, c) (hyb_wordpiece_run(table, HYB_COUNT(table), 2, c) != NULL)

static uint32_t hyb_wordpiece_small(uint32_t c)
{
    const uint32_t *run = hyb_wordpiece_run(hyb_wordpiece_lower, HYB_COUNT(hyb_wordpiece_lower), 3, c);
    return run ? c + run[2] : c;
}

/* Characters that are words of their own: those of Chinese, not of Japanese or Korean alphabets. The second last range
 * begins where HF tokenizers let it begin. */
static bool hyb_wordpiece_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool hyb_wordpiece_punctuation(uint32_t c)
{
    if (c < 128) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    return hyb_unicode_class(c) == HYB_CHAR_PUNCTUATION;
}

/* ---- words to pieces --------------------------------------------------------------------------------------------- */

/* The longest token that the n bytes at p begin with, and its size; -1: there is none. least: its smallest size. */
static int32_t hyb_wordpiece_longest(const hybrid_tokenizer *t, const uint8_t *p, size_t n, size_t least, size_t *size)
{
    int32_t id;
    for (*size = HYB_MIN(n, (size_t)t->longest); *size >= least; --*size) {
        if (*size < n && (p[*size] & 0xC0) == 0x80) continue; /* inside of a character */
        if ((id = hyb_vocab_find_mergeable(t, p, *size)) >= 0) return id;
    }
    return -1;
}

/* The word is over: its tokens. */
static void hyb_wordpiece_end(hyb_wordpiece *w)
{
    const hybrid_tokenizer *t = w->job->t;
    int32_t ids[HYB_WORDPIECE_CHARS];
    size_t at = 0, size, n = 0, i;
    const bool fits = w->n_chars <= HYB_WORDPIECE_CHARS;
    while (fits && at < w->n) {
        const int32_t id = hyb_wordpiece_longest(t, w->bytes + at, w->n - at, at ? 1 : 2, &size);
        if (id < 0) break;
        ids[n++] = id;
        at += size;
    }
    if (w->n_chars && at < w->n)
        hyb_emit_token(w->job, t->roles[HYBRID_ROLE_UNKNOWN]);
    else
        for (i = 0; i < n && w->n_chars; i++) hyb_emit_token(w->job, ids[i]);
    w->n = 1;
    w->n_chars = 0;
}

static void hyb_wordpiece_add(hyb_wordpiece *w, uint32_t c)
{
    if (w->n_chars++ < HYB_WORDPIECE_CHARS) w->n += hyb_utf8_write(c, (char *)w->bytes + w->n);
}

/* A word of one character. */
static void hyb_wordpiece_alone(hyb_wordpiece *w, uint32_t c)
{
    hyb_wordpiece_end(w);
    hyb_wordpiece_add(w, c);
    hyb_wordpiece_end(w);
}

/* ---- text to words ----------------------------------------------------------------------------------------------- */

static void hyb_wordpiece_char(hyb_wordpiece *w, uint32_t c)
{
    const unsigned kind = hyb_unicode_class(c);
    const bool alone = hyb_wordpiece_chinese(c);
    uint32_t parts[4];
    size_t n, i;
    if (HYB_WORDPIECE_IN(hyb_wordpiece_dropped, c)) return;
    if (kind == HYB_CHAR_SPACE || kind == HYB_CHAR_NEWLINE) {
        hyb_wordpiece_end(w);
        return;
    }
    if (alone) hyb_wordpiece_end(w);
    n = hyb_nfc_decompose(c, parts);
    for (i = 0; i < n; i++) {
        if (HYB_WORDPIECE_IN(hyb_wordpiece_marks, parts[i])) continue;
        if (hyb_wordpiece_punctuation(parts[i]))
            hyb_wordpiece_alone(w, parts[i]);
        else
            hyb_wordpiece_add(w, hyb_wordpiece_small(parts[i]));
    }
    if (alone) hyb_wordpiece_end(w);
}

/* Bytes that are not UTF-8 are left out, as controls are. */
static void hyb_tokenize_wordpiece(hyb_tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    hyb_wordpiece w;
    uint32_t c;
    size_t n, valid;
    w.job = job;
    w.bytes[0] = ' ';
    w.n = 1;
    w.n_chars = 0;
    for (; p < end; p += n ? n : 1)
        if ((n = hyb_utf8_decode(p, end, &c, &valid)) != 0) hyb_wordpiece_char(&w, c);
    hyb_wordpiece_end(&w);
}
#endif
