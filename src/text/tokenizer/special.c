/* text/tokenizer/special: tokens that are not made by merging: what they are for, which of them end an answer, and
 * finding them in a text. */
#ifndef HYB_TEXT_TOKENIZER_SPECIAL_C
#define HYB_TEXT_TOKENIZER_SPECIAL_C
#include "../../core/grow.c"
#include "vocab.c"

/* Well-known names, the more telling one first. */
typedef struct hyb_role_name {
    hybrid_token_role role;
    const char *name;
} hyb_role_name;

static int32_t hyb_find_name(const hybrid_tokenizer *t, const char *name)
{
    return hyb_vocab_find(t, (const uint8_t *)name, strlen(name));
}

/* A name that means something is a control token, whatever the file says. */
static void hyb_make_control(hybrid_tokenizer *t, int32_t id)
{
    t->kinds[id] = (uint8_t)((t->kinds[id] & ~(HYB_TOKEN_TYPE | HYB_TOKEN_FOREIGN)) | HYBRID_TOKEN_CONTROL);
}

static void hyb_special_roles(hybrid_tokenizer *t)
{
    /* clang-format off */
    static const hyb_role_name names[] = {
        { HYBRID_ROLE_EOT, "<|eot_id|>" }, { HYBRID_ROLE_EOT, "<|im_end|>" }, { HYBRID_ROLE_EOT, "<|end|>" },
        { HYBRID_ROLE_EOT, "<end_of_turn>" },
        { HYBRID_ROLE_EOT, "<|endoftext|>" }, { HYBRID_ROLE_EOT, "<EOT>" }, { HYBRID_ROLE_EOT, "_<EOT>" },
        { HYBRID_ROLE_EOT, "[EOT]" },
        { HYBRID_ROLE_EOT, "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>" },
        { HYBRID_ROLE_EOT, "<end_of_utterance>" },
        { HYBRID_ROLE_EOM, "<|eom_id|>" },
        { HYBRID_ROLE_FIM_PREFIX, "<|fim_prefix|>" }, { HYBRID_ROLE_FIM_PREFIX, "<fim-prefix>" },
        { HYBRID_ROLE_FIM_PREFIX, "<fim_prefix>" },
        { HYBRID_ROLE_FIM_PREFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C>" },
        { HYBRID_ROLE_FIM_PREFIX, "<PRE>" },
        { HYBRID_ROLE_FIM_PREFIX, "\xE2\x96\x81<PRE>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<|fim_suffix|>" }, { HYBRID_ROLE_FIM_SUFFIX, "<fim-suffix>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<fim_suffix>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81hole\xEF\xBD\x9C>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<SUF>" },
        { HYBRID_ROLE_FIM_SUFFIX, "\xE2\x96\x81<SUF>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<|fim_middle|>" }, { HYBRID_ROLE_FIM_MIDDLE, "<fim-middle>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<fim_middle>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<MID>" },
        { HYBRID_ROLE_FIM_MIDDLE, "\xE2\x96\x81<MID>" },
        { HYBRID_ROLE_FIM_PAD, "<|fim_pad|>" }, { HYBRID_ROLE_FIM_PAD, "<fim-pad>" },
        { HYBRID_ROLE_FIM_PAD, "<fim_pad>" }, { HYBRID_ROLE_FIM_PAD, "<PAD>" },
        { HYBRID_ROLE_FIM_REPO, "<|fim_repo|>" }, { HYBRID_ROLE_FIM_REPO, "<|repo_name|>" },
        { HYBRID_ROLE_FIM_REPO, "<fim-repo>" },
        { HYBRID_ROLE_FIM_REPO, "<REPO>" }, { HYBRID_ROLE_FIM_REPO, "<reponame>" },
        { HYBRID_ROLE_FIM_SEPARATOR, "<|file_sep|>" }
    };
    /* clang-format on */
    size_t i;
    for (i = 0; i < HYB_COUNT(names); i++) {
        int32_t id;
        if (t->roles[names[i].role] >= 0 || (id = hyb_find_name(t, names[i].name)) < 0) continue;
        t->roles[names[i].role] = id;
        hyb_make_control(t, id);
    }
}

/* Tokens after which nothing more is to be said: those with a role that says so, and those with a name that does. */
static void hyb_special_ends(hybrid_tokenizer *t)
{
    static const char *const names[] = { "<|eot_id|>",
                                         "<|im_end|>",
                                         "<|end|>",
                                         "<|return|>",
                                         "<|call|>",
                                         "<|flush|>",
                                         "<|calls|>",
                                         "<end_of_turn>",
                                         "<|endoftext|>",
                                         "</s>",
                                         "<|eom_id|>",
                                         "<EOT>",
                                         "_<EOT>",
                                         "[EOT]",
                                         "[EOS]",
                                         "<|end_of_text|>",
                                         "<end_of_utterance>",
                                         "<eos>",
                                         "<turn|>",
                                         "<\xEF\xBD\x9C\x65nd\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>" };
    static const hybrid_token_role roles[] = { HYBRID_ROLE_EOS,     HYBRID_ROLE_EOT,      HYBRID_ROLE_EOM,
                                               HYBRID_ROLE_FIM_PAD, HYBRID_ROLE_FIM_REPO, HYBRID_ROLE_FIM_SEPARATOR };
    bool call = hyb_find_name(t, "<|call|>") >= 0 || hyb_find_name(t, "<|calls|>") >= 0;
    bool result = hyb_find_name(t, "<|return|>") >= 0 || hyb_find_name(t, "<|flush|>") >= 0;
    int32_t id;
    size_t i;
    for (i = 0; i < HYB_COUNT(names); i++) {
        if ((id = hyb_find_name(t, names[i])) < 0) continue;
        hyb_make_control(t, id);
        t->kinds[id] |= HYB_TOKEN_END;
    }
    for (i = 0; i < HYB_COUNT(roles); i++)
        if ((id = t->roles[roles[i]]) >= 0) t->kinds[id] |= HYB_TOKEN_END;
    /* Formats with channels: <|end|> ends a message there, not the answer. */
    if (call && result && (id = hyb_find_name(t, "<|end|>")) >= 0) t->kinds[id] &= (uint8_t)~HYB_TOKEN_END;
}

static bool hyb_is_special(const hybrid_tokenizer *t, int32_t id)
{
    unsigned type = hyb_token_type(t, id);
    return (type == HYBRID_TOKEN_CONTROL || type == HYBRID_TOKEN_USER_DEFINED || type == HYBRID_TOKEN_UNKNOWN) &&
           t->offsets[id] < t->offsets[id + 1];
}

/* Phi-3's tokens that do not take the white space after them along, as its tokenizer.json says. */
static bool hyb_keeps_space(const uint8_t *p, size_t n)
{
    return (n == 3 && !memcmp(p, "<s>", 3)) || (n == 5 && !memcmp(p, "<unk>", 5)) ||
           (n == 13 && !memcmp(p, "<|endoftext|>", 13));
}

/* Names that only control tokens have, whatever their type says: "<|...|>", with such bars of full width too, and
 * Gemma's. */
static bool hyb_looks_control(const char *p, size_t n)
{
    static const char *const names[] = { "<start_of_turn>", "<end_of_turn>" };
    size_t i;
    if (n > 4 && !memcmp(p, "<|", 2) && !memcmp(p + n - 2, "|>", 2)) return true;
    if (n > 8 && !memcmp(p, "<\xEF\xBD\x9C", 4) && !memcmp(p + n - 4, "\xEF\xBD\x9C>", 4)) return true;
    for (i = 0; i < HYB_COUNT(names); i++)
        if (n == strlen(names[i]) && !memcmp(p, names[i], n)) return true;
    return false;
}

/* The automaton of the special tokens. It reads a text from its end, so what it knows at a byte is the longest token
 * that begins there. */
static hybrid_result hyb_special_automaton(hybrid_tokenizer *t, size_t count, hybrid_error *error)
{
    hyb_automaton_source source;
    hybrid_string *strings = (hybrid_string *)hyb_alloc(t->rt, count * (sizeof *strings + 1));
    uint8_t *marked = (uint8_t *)(strings + count);
    size_t i, n = 0;
    bool ok;
    if (!strings) return hyb_fail_memory(error, count * (sizeof *strings + 1));
    for (i = 0; i < t->n_tokens; i++) {
        if (!hyb_is_special(t, (int32_t)i)) continue;
        strings[n].data = (const char *)t->bytes + t->offsets[i];
        strings[n].size = t->offsets[i + 1] - t->offsets[i];
        marked[n] = 0;
        if (hyb_token_type(t, (int32_t)i) == HYBRID_TOKEN_USER_DEFINED)
            marked[n] = hyb_looks_control(strings[n].data, strings[n].size) ? 1 : 1 | 2;
        n++;
    }
    memset(&source, 0, sizeof source);
    source.strings = strings;
    source.marked = marked;
    source.n = n;
    source.backwards = true;
    ok = hyb_automaton_make(t->rt, &source, &t->special);
    hyb_free(t->rt, strings);
    return ok ? HYBRID_OK
              : hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for %llu special tokens",
                         (unsigned long long)count);
}

/* The last bytes of a special token, for a text that holds none to be read fast. */
static void hyb_special_add_end(hybrid_tokenizer *t, int32_t id)
{
    const uint8_t *end = t->bytes + t->offsets[id + 1];
    const bool text = hyb_token_type(t, id) == HYBRID_TOKEN_USER_DEFINED;
    uint32_t i, pair = end[-1];
    t->special_last[end[-1]] |= (uint8_t)(text ? HYB_SPECIAL_TEXT : HYB_SPECIAL_CONTROL);
    if (t->offsets[id + 1] - t->offsets[id] > 1) {
        pair |= (uint32_t)end[-2] << 8;
        t->special_pairs[pair >> 5] |= 1u << (pair & 31);
    } else
        for (i = 0; i < 256; i++) t->special_pairs[(i << 8 | pair) >> 5] |= 1u << (pair & 31);
}

static hybrid_result hyb_special_ids(hybrid_tokenizer *t, size_t count, hybrid_error *error)
{
    size_t i, n = 0;
    t->specials = (int32_t *)hyb_alloc(t->rt, count * sizeof *t->specials);
    if (!t->specials) return hyb_fail_memory(error, count * sizeof *t->specials);
    for (i = 0; i < t->n_tokens; i++)
        if (hyb_is_special(t, (int32_t)i)) t->specials[n++] = (int32_t)i;
    return HYBRID_OK;
}

/* Which tokens have roles, which end, and the tables that find them in a text. */
static hybrid_result hyb_vocab_make_specials(hybrid_tokenizer *t, bool strip_right, hybrid_error *error)
{
    size_t i, count = 0;
    hybrid_result r;
    hyb_special_roles(t);
    hyb_special_ends(t);
    t->special_pairs = (uint32_t *)hyb_calloc(t->rt, 2048, sizeof *t->special_pairs);
    if (!t->special_pairs) return hyb_fail_memory(error, 8192);
    for (i = 0; i < t->n_tokens; i++) {
        const uint8_t *p = t->bytes + t->offsets[i];
        if (!hyb_is_special(t, (int32_t)i)) continue;
        count++;
        hyb_special_add_end(t, (int32_t)i);
        if (strip_right && !hyb_keeps_space(p, t->offsets[i + 1] - t->offsets[i])) t->kinds[i] |= HYB_TOKEN_STRIP;
    }
    if ((r = hyb_special_automaton(t, count, error)) != HYBRID_OK) return r;
    return hyb_special_ids(t, count, error);
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

enum { HYB_SPECIAL_WORDS = 2 }; /* the mark of user-defined tokens that do not look as control tokens do */

/* What may be found where: user-defined tokens everywhere (HYB_SPECIAL_TEXT), control tokens too (HYB_SPECIAL_CONTROL),
 * or (spans is not NULL) only where all of their bytes lie in one span. */
typedef struct hyb_special_where {
    unsigned which;
    const hybrid_span *spans;
    size_t n_spans;
} hyb_special_where;

typedef struct hyb_special_match {
    size_t at;
    int32_t id;
} hyb_special_match;

typedef struct hyb_special_list { /* the longest token at every place where one begins, the last place first */
    hyb_special_match *items;
    size_t n, capacity;
} hyb_special_list;

static bool hyb_special_push(hybrid_runtime *rt, hyb_special_list *list, size_t at, int32_t id)
{
    if (HYB_GROW(rt, list->items, list->capacity, list->n, list->n + 1, NULL)) return false;
    list->items[list->n].at = at;
    list->items[list->n++].id = id;
    return true;
}

/* The longest token at `at` that may be one there, -1: none. state: what the automaton knows there; span: the last one
 * that begins at or before `at`, or NULL. */
static int32_t hyb_special_allowed(const hybrid_tokenizer *t, uint32_t state, size_t at, const hybrid_span *span)
{
    const hyb_automaton *a = &t->special;
    const int32_t text = a->best[HYB_SPECIAL_WORDS][state];
    int32_t best = span && at < span->end ? a->best[0][state] : text;
    while (best != text && best >= 0) { /* the span's end cuts the longest one off: a shorter one */
        const int32_t id = t->specials[best];
        const uint32_t n = t->offsets[id + 1] - t->offsets[id];
        if (n <= span->end - at) break;
        if (text >= 0 && n <= t->offsets[t->specials[text] + 1] - t->offsets[t->specials[text]]) best = text;
        if (best == text) break;
        while (a->depth[state] > n) state = a->fail[state];
        state = a->fail[state];
        best = a->best[0][state];
    }
    return best < 0 ? text < 0 ? -1 : t->specials[text] : t->specials[best];
}

/* All special tokens of a text that count. false: no memory. The list is emptied by hyb_special_list_free. */
static bool hyb_special_find(const hybrid_tokenizer *t, const uint8_t *text, size_t size,
                             const hyb_special_where *where, hyb_special_list *list)
{
    const unsigned which = where->which;
    const int32_t *best = t->special.best[which == HYB_SPECIAL_TEXT];
    size_t n_spans = where->n_spans;
    uint32_t state = 0;
    size_t i;
    list->items = NULL;
    list->capacity = 0;
    list->n = 0;
    for (i = size; i-- > 0;) {
        HYB_STEPS(1);
        if (!state) {
            if (HYB_LIKELY(!(t->special_last[text[i]] & which))) continue;
            if (i) {
                const uint32_t pair = (uint32_t)text[i - 1] << 8 | text[i];
                if (!(t->special_pairs[pair >> 5] >> (pair & 31) & 1)) continue;
            }
        }
        state = hyb_automaton_next(&t->special, state, text[i]);
        if (best[state] >= 0) {
            int32_t id = t->specials[best[state]];
            if (where->spans) {
                while (n_spans && where->spans[n_spans - 1].begin > i) n_spans--;
                id = hyb_special_allowed(t, state, i, n_spans ? &where->spans[n_spans - 1] : NULL);
            }
            if (id >= 0 && !hyb_special_push(t->rt, list, i, id)) return false;
        }
    }
    return true;
}

static void hyb_special_list_free(hybrid_runtime *rt, hyb_special_list *list) { hyb_free(rt, list->items); }
#endif
