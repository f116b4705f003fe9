/* text/special: tokens that are not made by merging: what they are for, which of them end an answer, and finding them in a text. */

/* Well-known names, the more telling one first. */
typedef struct hybrid__role_name {
    hybrid_token_role role;
    const char       *name;
} hybrid__role_name;

static int32_t hybrid__find_name(const hybrid_tokenizer *t, const char *name) { return hybrid__vocab_find(t, (const uint8_t *)name, strlen(name)); }

/* A name that means something is a control token, whatever the file says. */
static void hybrid__make_control(hybrid_tokenizer *t, int32_t id)
{
    t->kinds[id] = (uint8_t)((t->kinds[id] & ~(HYBRID__TOKEN_TYPE | HYBRID__TOKEN_FOREIGN)) | HYBRID_TOKEN_CONTROL);
}

static void hybrid__special_roles(hybrid_tokenizer *t)
{
    static const hybrid__role_name names[] = {
        { HYBRID_ROLE_EOT, "<|eot_id|>" }, { HYBRID_ROLE_EOT, "<|im_end|>" }, { HYBRID_ROLE_EOT, "<|end|>" }, { HYBRID_ROLE_EOT, "<end_of_turn>" },
        { HYBRID_ROLE_EOT, "<|endoftext|>" }, { HYBRID_ROLE_EOT, "<EOT>" }, { HYBRID_ROLE_EOT, "_<EOT>" }, { HYBRID_ROLE_EOT, "[EOT]" },
        { HYBRID_ROLE_EOT, "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>" }, { HYBRID_ROLE_EOT, "<end_of_utterance>" },
        { HYBRID_ROLE_EOM, "<|eom_id|>" },
        { HYBRID_ROLE_FIM_PREFIX, "<|fim_prefix|>" }, { HYBRID_ROLE_FIM_PREFIX, "<fim-prefix>" }, { HYBRID_ROLE_FIM_PREFIX, "<fim_prefix>" },
        { HYBRID_ROLE_FIM_PREFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_PREFIX, "<PRE>" },
        { HYBRID_ROLE_FIM_PREFIX, "\xE2\x96\x81<PRE>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<|fim_suffix|>" }, { HYBRID_ROLE_FIM_SUFFIX, "<fim-suffix>" }, { HYBRID_ROLE_FIM_SUFFIX, "<fim_suffix>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81hole\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_SUFFIX, "<SUF>" },
        { HYBRID_ROLE_FIM_SUFFIX, "\xE2\x96\x81<SUF>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<|fim_middle|>" }, { HYBRID_ROLE_FIM_MIDDLE, "<fim-middle>" }, { HYBRID_ROLE_FIM_MIDDLE, "<fim_middle>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_MIDDLE, "<MID>" },
        { HYBRID_ROLE_FIM_MIDDLE, "\xE2\x96\x81<MID>" },
        { HYBRID_ROLE_FIM_PAD, "<|fim_pad|>" }, { HYBRID_ROLE_FIM_PAD, "<fim-pad>" }, { HYBRID_ROLE_FIM_PAD, "<fim_pad>" }, { HYBRID_ROLE_FIM_PAD, "<PAD>" },
        { HYBRID_ROLE_FIM_REPO, "<|fim_repo|>" }, { HYBRID_ROLE_FIM_REPO, "<|repo_name|>" }, { HYBRID_ROLE_FIM_REPO, "<fim-repo>" },
        { HYBRID_ROLE_FIM_REPO, "<REPO>" }, { HYBRID_ROLE_FIM_REPO, "<reponame>" },
        { HYBRID_ROLE_FIM_SEPARATOR, "<|file_sep|>" }
    };
    size_t i;
    for (i = 0; i < HYBRID__COUNT(names); i++) {
        int32_t id;
        if (t->roles[names[i].role] >= 0 || (id = hybrid__find_name(t, names[i].name)) < 0) continue;
        t->roles[names[i].role] = id;
        hybrid__make_control(t, id);
    }
}

/* Tokens after which nothing more is to be said: those with a role that says so, and those with a name that does. */
static void hybrid__special_ends(hybrid_tokenizer *t)
{
    static const char *const names[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>",
        "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>",
        "<\xEF\xBD\x9C\x65nd\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"
    };
    static const hybrid_token_role roles[] = { HYBRID_ROLE_EOS, HYBRID_ROLE_EOT, HYBRID_ROLE_EOM, HYBRID_ROLE_FIM_PAD, HYBRID_ROLE_FIM_REPO, HYBRID_ROLE_FIM_SEPARATOR };
    bool call = hybrid__find_name(t, "<|call|>") >= 0 || hybrid__find_name(t, "<|calls|>") >= 0;
    bool result = hybrid__find_name(t, "<|return|>") >= 0 || hybrid__find_name(t, "<|flush|>") >= 0;
    int32_t id;
    size_t i;
    for (i = 0; i < HYBRID__COUNT(names); i++) {
        if ((id = hybrid__find_name(t, names[i])) < 0) continue;
        hybrid__make_control(t, id);
        t->kinds[id] |= HYBRID__TOKEN_END;
    }
    for (i = 0; i < HYBRID__COUNT(roles); i++)
        if ((id = t->roles[roles[i]]) >= 0) t->kinds[id] |= HYBRID__TOKEN_END;
    /* Formats with channels: <|end|> ends a message there, not the answer. */
    if (call && result && (id = hybrid__find_name(t, "<|end|>")) >= 0) t->kinds[id] &= (uint8_t)~HYBRID__TOKEN_END;
}

static bool hybrid__is_special(const hybrid_tokenizer *t, int32_t id)
{
    unsigned type = hybrid__token_type(t, id);
    return (type == HYBRID_TOKEN_CONTROL || type == HYBRID_TOKEN_USER_DEFINED || type == HYBRID_TOKEN_UNKNOWN) && t->offsets[id] < t->offsets[id + 1];
}

/* By bytes, a beginning before what it begins. */
static bool hybrid__special_before(const hybrid_tokenizer *t, int32_t a, int32_t b)
{
    size_t n_a = t->offsets[a + 1] - t->offsets[a], n_b = t->offsets[b + 1] - t->offsets[b];
    int order = memcmp(t->bytes + t->offsets[a], t->bytes + t->offsets[b], HYBRID__MIN(n_a, n_b));
    return order ? order < 0 : n_a < n_b;
}

static void hybrid__special_sort(const hybrid_tokenizer *t, int32_t *ids, size_t n)      /* Shell's: some thousands at most in practice */
{
    size_t gap, i, j;
    for (gap = 1; gap < n / 3; gap = gap * 3 + 1) {}
    for (; gap; gap /= 3) {
        for (i = gap; i < n; i++) {
            int32_t id = ids[i];
            for (j = i; j >= gap && hybrid__special_before(t, id, ids[j - gap]); j -= gap) ids[j] = ids[j - gap];
            ids[j] = id;
        }
    }
}

static void hybrid__special_add_pair(hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    uint32_t pair = (uint32_t)p[0] << 8, i;
    if (n > 1) { pair |= p[1]; t->special_pairs[pair >> 5] |= 1u << (pair & 31); }
    else for (i = 0; i < 8; i++) t->special_pairs[(pair >> 5) + i] = UINT32_MAX;
}

/* Phi-3's tokens that do not take the white space after them along, as its tokenizer.json says. */
static bool hybrid__keeps_space(const uint8_t *p, size_t n)
{
    return (n == 3 && !memcmp(p, "<s>", 3)) || (n == 5 && !memcmp(p, "<unk>", 5)) || (n == 13 && !memcmp(p, "<|endoftext|>", 13));
}

/* Which tokens have roles, which end, and the tables that find them in a text. */
static hybrid_result hybrid__vocab_make_specials(hybrid_tokenizer *t, bool strip_right, hybrid_error *error)
{
    size_t i, n = 0, count = 0;
    hybrid__special_roles(t);
    hybrid__special_ends(t);
    for (i = 0; i < t->n_tokens; i++) count += hybrid__is_special(t, (int32_t)i);
    t->specials = (int32_t *)hybrid__alloc(t->rt, count * sizeof *t->specials);
    t->special_pairs = (uint32_t *)hybrid__calloc(t->rt, 2048, sizeof *t->special_pairs);
    if (!t->specials || !t->special_pairs) return hybrid__fail_memory(error, count * sizeof *t->specials + 8192);
    for (i = 0; i < t->n_tokens; i++) {
        const uint8_t *p = t->bytes + t->offsets[i];
        if (!hybrid__is_special(t, (int32_t)i)) continue;
        t->specials[n++] = (int32_t)i;
        t->special_first[*p] |= (uint8_t)(hybrid__token_type(t, (int32_t)i) == HYBRID_TOKEN_USER_DEFINED ? HYBRID__BEGINS_TEXT : HYBRID__BEGINS_CONTROL);
        t->special_begin[*p + 1]++;
        hybrid__special_add_pair(t, p, t->offsets[i + 1] - t->offsets[i]);
        if (strip_right && !hybrid__keeps_space(p, t->offsets[i + 1] - t->offsets[i])) t->kinds[i] |= HYBRID__TOKEN_STRIP;
    }
    for (i = 0; i < 256; i++) t->special_begin[i + 1] += t->special_begin[i];
    hybrid__special_sort(t, t->specials, n);
    return HYBRID_OK;
}

HYBRID__INLINE uint8_t hybrid__special_byte(const hybrid_tokenizer *t, uint32_t at, size_t k) { return t->bytes[t->offsets[t->specials[at]] + k]; }

/* The longest special token at p that counts (begins: HYBRID__BEGINS_...), -1 when there is none. The tokens that agree with the text so
 * far are a range of the sorted list; every further byte narrows it. */
static int32_t hybrid__special_match(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, unsigned begins)
{
    uint32_t low = t->special_begin[*p], high = t->special_begin[*p + 1];
    int32_t best = -1;
    size_t k;
    for (k = 1; low < high; k++) {
        for (; low < high && t->offsets[t->specials[low] + 1] - t->offsets[t->specials[low]] == k; low++) {
            bool text = hybrid__token_type(t, t->specials[low]) == HYBRID_TOKEN_USER_DEFINED;
            if (begins & (text ? HYBRID__BEGINS_TEXT : HYBRID__BEGINS_CONTROL)) best = t->specials[low];
        }
        if (p + k == end || low == high) break;
        if (hybrid__special_byte(t, low, k) != p[k] || hybrid__special_byte(t, high - 1, k) != p[k]) {
            uint32_t a = low, b = high, middle;
            while (a < b) { middle = a + (b - a) / 2; if (hybrid__special_byte(t, middle, k) < p[k]) a = middle + 1; else b = middle; }
            low = a;
            for (b = high; a < b; ) { middle = a + (b - a) / 2; if (hybrid__special_byte(t, middle, k) <= p[k]) a = middle + 1; else b = middle; }
            high = a;
        }
    }
    return best;
}

/* The first special token in the text that counts: where it begins (end when there is none) and its id. */
static const uint8_t *hybrid__special_search(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, unsigned begins, int32_t *id)
{
    for (; p < end; p++) {
        uint32_t pair;
        if (HYBRID__LIKELY(!(t->special_first[*p] & begins))) continue;
        if (p + 1 < end) {
            pair = (uint32_t)p[0] << 8 | p[1];
            if (!(t->special_pairs[pair >> 5] >> (pair & 31) & 1)) continue;
        }
        if ((*id = hybrid__special_match(t, p, end, begins)) >= 0) return p;
    }
    return end;
}
