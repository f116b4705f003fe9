/* text/tokenizer/vocab: the tables of a tokenizer: the bytes of every token, the way from bytes to token, the merges,
 * the special tokens. They are made once when a model is loaded, so making them is kept cheap: one arena for all bytes,
 * flat tables, nothing allocated per token. */
#ifndef HYB_TEXT_TOKENIZER_VOCAB_C
#define HYB_TEXT_TOKENIZER_VOCAB_C
#include "../../core/lifetime.c"
#include "../../gguf/names.c"
#include "pretokenize.c"
#include "../automaton.c"
#include "fingerprint.c"

/* bytes: up to here all pairs of a word are looked through at every step, beyond a heap finds the best */
#define HYB_WORD_SHORT 64

/* One merge of byte-level BPE, in an open-addressing table; left == UINT32_MAX: empty. */
typedef struct hyb_merge {
    uint32_t left, right, rank, result;
} hyb_merge;

#define HYB_SPECIAL_TEXT    1u /* a user-defined token: they count in every text */
#define HYB_SPECIAL_CONTROL 2u /* a control or unknown token */

#define HYB_TOKEN_TYPE    7u  /* in hybrid_tokenizer.kinds: a hybrid_token_type */
#define HYB_TOKEN_END     8u  /* generation ends with it */
#define HYB_TOKEN_STRIP   16u /* takes the white space after it along */
#define HYB_TOKEN_FOREIGN 32u /* normal, but spelled with what no byte is mapped to: never made from text */

struct hybrid_tokenizer {
    hybrid_runtime *rt;
    bool spm, raw, whole_words, add_bos, add_eos, add_space;
    bool wordpiece; /* BERT: the longest token of what is left of a word */
    bool greedy;    /* RWKV: no merging, the longest token that begins at a place */
    size_t n_tokens;
    uint8_t *bytes;        /* of all tokens, one after another */
    uint32_t *offsets;     /* n_tokens + 1, into bytes */
    uint8_t *kinds;        /* n_tokens: HYB_TOKEN_... */
    uint32_t *ranks;       /* spm, raw: n_tokens, the least is merged first */
    hyb_print_point point; /* of fingerprints: a secret, as all that decides where in a table something belongs */
    uint64_t spread;       /* odd: brings all bits of a fingerprint to the top */
    uint64_t *index;       /* bytes -> id: low half of the fingerprint << 32 | id + 1, 0: empty */
    uint32_t index_mask, index_shift;
    uint32_t longest; /* bytes of the longest token that merging may make */
    hyb_merge *merges;
    uint64_t merge_key[2];
    uint32_t merge_mask, merge_shift;
    int32_t byte_ids[256]; /* the token of one byte, -1: none */
    int32_t roles[HYBRID_ROLE_COUNT_];
    bool fuse_unknown;           /* spm without all byte tokens: what is unknown side by side is one unknown token */
    hyb_automaton special;       /* control, user-defined and unknown tokens, from their ends; marked: user-defined */
    int32_t *specials;           /* their ids, by their numbers in the automaton */
    uint8_t special_last[256];   /* what a byte may end: HYB_SPECIAL_... */
    uint32_t *special_pairs;     /* a bit for every pair of bytes that may end one */
    hyb_automaton words;         /* greedy: the tokens that text is made of, from their ends */
    int32_t *word_ids;           /* greedy: their ids, by their numbers in the automaton */
    uint32_t *joined;            /* a bit for every pair of bytes that stand side by side in some token */
    uint8_t *classes;            /* bpe: of the code points below U+10000 */
    uint8_t *nfc;                /* HYB_NFC_BITS, where text is normalized first; or NULL */
    const hyb_pretokenizer *pre; /* bpe */
};

/* Strings from memory or from a file. */
typedef struct hyb_strings {
    const hybrid_string *list;
    const hybrid_gguf_value *array;
    size_t count;
} hyb_strings;

HYB_INLINE hybrid_string hyb_string_at(const hyb_strings *s, size_t i)
{
    return s->list ? s->list[i] : hybrid_gguf_item_string(s->array, i);
}

/* What both ways to make a tokenizer come down to. */
typedef struct hyb_vocab_source {
    bool spm, raw, greedy, wordpiece, add_bos, add_eos, add_space, strip_right;
    const hyb_pretokenizer *pre;
    hyb_strings tokens, merges;
    const uint8_t *types;              /* n_tokens, or NULL */
    const void *scores;                /* n_tokens floats at any alignment, or NULL */
    int32_t roles[HYBRID_ROLE_COUNT_]; /* -1: look for the well-known names */
} hyb_vocab_source;

HYB_INLINE unsigned hyb_token_type(const hybrid_tokenizer *t, int32_t id) { return t->kinds[id] & HYB_TOKEN_TYPE; }

/* Tokens that merging may make: not those whose names would let a text speak with the voice of the program. */
HYB_INLINE bool hyb_token_mergeable(const hybrid_tokenizer *t, int32_t id)
{
    return (t->kinds[id] & (HYB_TOKEN_TYPE | HYB_TOKEN_FOREIGN)) == HYBRID_TOKEN_NORMAL;
}

/* ---- bytes -> id ------------------------------------------------------------------------------------------------- */

/* Where in the index a fingerprint belongs: of two different ones, two tables in 2^bits send both to one place
 * (Dietzfelbinger et al. 1997). */
HYB_INLINE uint32_t hyb_index_slot(const hybrid_tokenizer *t, uint64_t print)
{
    return (uint32_t)(print * t->spread >> t->index_shift);
}

/* A text of the size of a token's is compared eight bytes at a time; most are short. */
HYB_INLINE bool hyb_same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n >= 8)
        return hyb_load_u64(a) == hyb_load_u64(b) && hyb_load_u64(a + n - 8) == hyb_load_u64(b + n - 8) &&
               (n <= 16 || !memcmp(a, b, n));
    if (n >= 4) return hyb_load_u32(a) == hyb_load_u32(b) && hyb_load_u32(a + n - 4) == hyb_load_u32(b + n - 4);
    return !n || (a[0] == b[0] && a[n >> 1] == b[n >> 1] && a[n - 1] == b[n - 1]);
}

/* The token with these bytes and their fingerprint, -1 when there is none. Of a normal one and another with the same
 * bytes, the normal one. */
HYB_INLINE int32_t hyb_vocab_find_print(const hybrid_tokenizer *t, uint64_t print, const uint8_t *p, size_t n)
{
    uint32_t at = hyb_index_slot(t, print), tag = (uint32_t)print;
    for (; t->index[at]; at = (at + 1) & t->index_mask) {
        HYB_STEPS(1);
        if ((uint32_t)(t->index[at] >> 32) == tag) {
            uint32_t id = (uint32_t)t->index[at] - 1, begin = t->offsets[id];
            HYB_STEPS(n / 32);
            if (t->offsets[id + 1] - begin == n && hyb_same_bytes(t->bytes + begin, p, n)) return (int32_t)id;
        }
    }
    return -1;
}

static int32_t hyb_vocab_find(const hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    return hyb_vocab_find_print(t, hyb_print_of(&t->point, p, n), p, n);
}

/* The same for merging: -1 also for a token that text must not become. */
HYB_INLINE int32_t hyb_vocab_find_mergeable_print(const hybrid_tokenizer *t, uint64_t print, const uint8_t *p, size_t n)
{
    int32_t id = n <= t->longest ? hyb_vocab_find_print(t, print, p, n) : -1;
    return id >= 0 && hyb_token_mergeable(t, id) ? id : -1;
}

HYB_INLINE int32_t hyb_vocab_find_mergeable(const hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    return n <= t->longest ? hyb_vocab_find_mergeable_print(t, hyb_print_of(&t->point, p, n), p, n) : -1;
}

static void hyb_vocab_insert(hybrid_tokenizer *t, int32_t id)
{
    const uint8_t *p = t->bytes + t->offsets[id];
    size_t n = t->offsets[id + 1] - t->offsets[id];
    uint64_t print = hyb_print_of(&t->point, p, n);
    uint32_t at = hyb_index_slot(t, print), tag = (uint32_t)print;
    if (!n) return;
    if (hyb_token_mergeable(t, id)) t->longest = HYB_MAX(t->longest, (uint32_t)n);
    for (; t->index[at]; at = (at + 1) & t->index_mask) {
        HYB_STEPS(1);
        if ((uint32_t)(t->index[at] >> 32) == tag) {
            uint32_t other = (uint32_t)t->index[at] - 1;
            if (t->offsets[other + 1] - t->offsets[other] == n && !memcmp(t->bytes + t->offsets[other], p, n)) {
                if (hyb_token_mergeable(t, (int32_t)other) || !hyb_token_mergeable(t, id)) return;
                break;
            }
        }
    }
    t->index[at] = (uint64_t)tag << 32 | (uint32_t)(id + 1);
}

/* ---- spellings -> bytes ------------------------------------------------------------------------------------------ */

/* GPT-2's way to write bytes as printable characters: those of Latin-1 that can be seen stand for themselves, the
 * others for U+0100 on. to_byte[c] for c < 324: the byte, or -1. */
static void hyb_byte_spelling(int16_t to_byte[324])
{
    int c, next = 256;
    for (c = 0; c < 324; c++) to_byte[c] = -1;
    for (c = 0; c < 256; c++) {
        bool seen = (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        to_byte[seen ? c : next++] = (int16_t)c;
    }
}

/* Bytes of one spelled token, written to out (at least s.size bytes); SIZE_MAX when it is spelled with other
 * characters. */
static size_t hyb_spelled_bytes(hybrid_string s, const int16_t to_byte[324], uint8_t *out)
{
    const uint8_t *p = (const uint8_t *)s.data, *end = p + s.size;
    size_t n = 0;
    while (p < end) {
        uint32_t c = *p++;
        if (c >= 0x80) { /* two bytes are enough for U+0080..U+0143 */
            if (c < 0xC2 || c > 0xC5 || p == end || (*p & 0xC0) != 0x80) return SIZE_MAX;
            c = (c & 31) << 6 | (*p++ & 63);
        }
        if (c >= 324 || to_byte[c] < 0) return SIZE_MAX;
        out[n++] = (uint8_t)to_byte[c];
    }
    return n;
}

/* SentencePiece writes a space as U+2581. */
static size_t hyb_unescape_spaces(const uint8_t *p, size_t size, uint8_t *out)
{
    size_t i = 0, n = 0;
    while (i < size) {
        if (p[i] == 0xE2 && size - i >= 3 && p[i + 1] == 0x96 && p[i + 2] == 0x81) {
            out[n++] = ' ';
            i += 3;
        } else
            out[n++] = p[i++];
    }
    return n;
}

/* The value of two hexadecimal digits, -1 for anything else. */
static int hyb_hex_byte(const char *p)
{
    int i, value = 0;
    for (i = 0; i < 2; i++) {
        const int letter = p[i] | 32;
        if (p[i] >= '0' && p[i] <= '9')
            value = value * 16 + p[i] - '0';
        else if (letter >= 'a' && letter <= 'f')
            value = value * 16 + letter - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* "<0x0A>" -> 10; -1 for anything else. */
static int hyb_byte_token(hybrid_string s)
{
    return s.size == 6 && !memcmp(s.data, "<0x", 3) && s.data[5] == '>' ? hyb_hex_byte(s.data + 3) : -1;
}

/* The byte after a backslash at p, of RWKV's spelling: what Python's repr() of the bytes has between its quotes. *size:
 * how many characters it takes; -1 for what repr() never writes. */
static int hyb_escaped_byte(const char *p, size_t left, size_t *size)
{
    *size = 1;
    if (!left) return -1;
    switch (*p) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case '\\':
    case '\'':
    case '"': return *p;
    case 'x': break;
    default: return -1;
    }
    *size = 3;
    return left < 3 ? -1 : hyb_hex_byte(p + 1);
}

/* The bytes of a token in that spelling, written to out (at least s.size bytes); SIZE_MAX when it is another. */
static size_t hyb_unescape_bytes(hybrid_string s, uint8_t *out)
{
    size_t i = 0, n = 0, length;
    int c;
    for (; i < s.size; i += length) {
        length = 1;
        c = (uint8_t)s.data[i];
        if (c == '\\') {
            c = hyb_escaped_byte(s.data + i + 1, s.size - i - 1, &length);
            if (c < 0) return SIZE_MAX;
            length++;
        }
        out[n++] = (uint8_t)c;
    }
    return n;
}

static hybrid_result hyb_vocab_misspelled(size_t id, hybrid_string s, hybrid_error *error)
{
    char text[64];
    hyb_printable(s, text);
    return hyb_fail(error, HYBRID_ERROR_FORMAT,
                    "token %llu of RWKV's vocabulary is \"%s\": a backslash goes before "
                    "t, n, r, x and two hexadecimal digits, a quote or another backslash. Convert the model again",
                    (unsigned long long)id, text);
}

/* The bytes of a token whose type is known, written to out (at least s.size bytes); SIZE_MAX: it is misspelled. */
static size_t hyb_vocab_read_token(hybrid_tokenizer *t, size_t id, hybrid_string s, const int16_t to_byte[324],
                                   uint8_t *out)
{
    const bool normal = t->kinds[id] == HYBRID_TOKEN_NORMAL;
    const int byte = t->kinds[id] == HYBRID_TOKEN_BYTE ? hyb_byte_token(s) : -1;
    size_t n;
    if (byte >= 0) {
        t->byte_ids[byte] = (int32_t)id;
        *out = (uint8_t)byte;
        return 1;
    }
    if (t->greedy) {
        n = hyb_unescape_bytes(s, out);
        if (n != SIZE_MAX || normal) return n;
    } else if (normal && (t->spm || t->wordpiece))
        return hyb_unescape_spaces((const uint8_t *)s.data, s.size, out);
    else if (normal && !t->raw) {
        n = hyb_spelled_bytes(s, to_byte, out);
        if (n != SIZE_MAX) return n;
        t->kinds[id] |= HYB_TOKEN_FOREIGN;
    }
    if (s.size) memcpy(out, s.data, s.size);
    return s.size;
}

/* Room for the tokens' bytes, offsets and kinds. */
static hybrid_result hyb_vocab_make_room(hybrid_tokenizer *t, const hyb_vocab_source *source, hybrid_error *error)
{
    size_t i, size = 0;
    for (i = 0; i < t->n_tokens; i++) {
        hybrid_string s = hyb_string_at(&source->tokens, i);
        if (s.size && !s.data)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "the text of token %llu is NULL", (unsigned long long)i);
        if (!hyb_add_size(size, s.size, &size) || size > UINT32_MAX / 2)
            return hyb_fail(error, HYBRID_ERROR_LIMIT, "the tokens of the vocabulary are more than 2 GiB of text");
    }
    t->bytes = (uint8_t *)hyb_alloc(t->rt, size);
    t->offsets = (uint32_t *)hyb_calloc(t->rt, t->n_tokens + 1, sizeof *t->offsets);
    t->kinds = (uint8_t *)hyb_alloc(t->rt, t->n_tokens);
    if (!t->bytes || !t->offsets || !t->kinds) return hyb_fail_memory(error, size + t->n_tokens * 5);
    return HYBRID_OK;
}

/* Fills bytes, offsets and kinds. */
static hybrid_result hyb_vocab_read_tokens(hybrid_tokenizer *t, const hyb_vocab_source *source, hybrid_error *error)
{
    const hybrid_result r = hyb_vocab_make_room(t, source, error);
    int16_t to_byte[324];
    size_t i, at = 0, n;
    if (r != HYBRID_OK) return r;
    hyb_byte_spelling(to_byte);
    for (i = 0; i < t->n_tokens; i++) {
        hybrid_string s = hyb_string_at(&source->tokens, i);
        uint8_t type = source->types ? source->types[i] : (uint8_t)HYBRID_TOKEN_NORMAL;
        if (type < HYBRID_TOKEN_NORMAL || type > HYBRID_TOKEN_BYTE) type = HYBRID_TOKEN_UNUSED;
        if (t->spm && !source->types && hyb_byte_token(s) >= 0) type = HYBRID_TOKEN_BYTE;
        t->offsets[i] = (uint32_t)at;
        t->kinds[i] = type;
        n = hyb_vocab_read_token(t, i, s, to_byte, t->bytes + at);
        if (n == SIZE_MAX) return hyb_vocab_misspelled(i, s, error);
        at += n;
    }
    t->offsets[t->n_tokens] = (uint32_t)at;
    return HYBRID_OK;
}

/* A power of two; *shift: from 64 bits down to a place in the table. */
static uint32_t hyb_table_size(size_t count, uint32_t *shift)
{
    uint32_t size = 16;
    *shift = 60;
    while (size < count + count / 2) {
        size *= 2;
        --*shift;
    }
    return size;
}

/* Numbers that the author of a file cannot know. */
static void hyb_vocab_make_secrets(hybrid_tokenizer *t)
{
    uint64_t secret[4];
    size_t i;
    for (i = 0; i < 4; i++) secret[i] = hyb_hash(&t->rt->hash_key, &i, sizeof i);
    hyb_print_point_make(&t->point, secret[0]);
    t->spread = secret[1] | 1;
    t->merge_key[0] = secret[2];
    t->merge_key[1] = secret[3];
}

static hybrid_result hyb_vocab_make_index(hybrid_tokenizer *t, hybrid_error *error)
{
    uint32_t size = hyb_table_size(t->n_tokens, &t->index_shift);
    size_t i;
    hyb_vocab_make_secrets(t);
    t->index_mask = size - 1;
    if (!(t->index = (uint64_t *)hyb_calloc(t->rt, size, sizeof *t->index)))
        return hyb_fail_memory(error, size * sizeof *t->index);
    for (i = 0; i < t->n_tokens; i++)
        if (hyb_token_type(t, (int32_t)i) != HYBRID_TOKEN_BYTE) hyb_vocab_insert(t, (int32_t)i);
    return HYBRID_OK;
}

/* ---- merges ------------------------------------------------------------------------------------------------------ */

/* Two different pairs come to one place by chance only: the sum is one of those of Lemire, Kaser 2014 (multilinear
 * hashing), whose upper half is independent for any two pairs when the keys are random. */
HYB_INLINE uint32_t hyb_merge_slot(const hybrid_tokenizer *t, uint32_t left, uint32_t right)
{
    return (uint32_t)((t->merge_key[0] + left) * (t->merge_key[1] + right) >> t->merge_shift);
}

HYB_INLINE const hyb_merge *hyb_merge_find(const hybrid_tokenizer *t, uint32_t left, uint32_t right)
{
    uint32_t at = hyb_merge_slot(t, left, right);
    for (; t->merges[at].left != UINT32_MAX; at = (at + 1) & t->merge_mask) {
        HYB_STEPS(1);
        if (t->merges[at].left == left && t->merges[at].right == right) return &t->merges[at];
    }
    return NULL;
}

/* "left right" of a file as token ids. The result is mostly the token after that of the merge before, which saves a
 * search. */
static bool hyb_merge_parse(const hybrid_tokenizer *t, hybrid_string s, const int16_t to_byte[324], uint8_t *bytes,
                            int32_t guess, hyb_merge *out)
{
    const char *space = s.size > 1 ? (const char *)memchr(s.data + 1, ' ', s.size - 1) : NULL;
    hybrid_string half;
    size_t n_left, n_right;
    uint64_t print_left, print_right;
    int32_t left, right, result;
    if (!space) return false;
    half.data = s.data;
    half.size = (size_t)(space - s.data);
    if ((n_left = hyb_spelled_bytes(half, to_byte, bytes)) == SIZE_MAX) return false;
    half.data = space + 1;
    half.size = s.size - half.size - 1;
    if ((n_right = hyb_spelled_bytes(half, to_byte, bytes + n_left)) == SIZE_MAX || !n_right) return false;
    print_left = hyb_print_of(&t->point, bytes, n_left);
    if ((left = hyb_vocab_find_mergeable_print(t, print_left, bytes, n_left)) < 0) return false;
    print_right = hyb_print_of(&t->point, bytes + n_left, n_right);
    if ((right = hyb_vocab_find_mergeable_print(t, print_right, bytes + n_left, n_right)) < 0) return false;
    if ((size_t)guess < t->n_tokens && t->offsets[guess + 1] - t->offsets[guess] == n_left + n_right &&
        hyb_token_mergeable(t, guess) && !memcmp(t->bytes + t->offsets[guess], bytes, n_left + n_right))
        result = guess;
    else {
        print_left = hyb_print_join(print_left, hyb_print_power_at(&t->point, n_right), print_right);
        if ((result = hyb_vocab_find_mergeable_print(t, print_left, bytes, n_left + n_right)) < 0) return false;
    }
    out->left = (uint32_t)left;
    out->right = (uint32_t)right;
    out->result = (uint32_t)result;
    return true;
}

static hybrid_result hyb_vocab_make_merges(hybrid_tokenizer *t, const hyb_vocab_source *source, hybrid_error *error)
{
    uint32_t size = hyb_table_size(source->merges.count, &t->merge_shift), at;
    int16_t to_byte[324];
    size_t i, longest = 0, unusable = 0;
    hyb_merge m;
    uint8_t *bytes;
    for (i = 0; i < source->merges.count; i++) longest = HYB_MAX(longest, hyb_string_at(&source->merges, i).size);
    t->merge_mask = size - 1;
    t->merges = (hyb_merge *)hyb_alloc(t->rt, (size_t)size * sizeof *t->merges);
    if (!t->merges || !(bytes = (uint8_t *)hyb_alloc(t->rt, longest)))
        return hyb_fail_memory(error, size * sizeof *t->merges + longest);
    memset(t->merges, 0xFF, (size_t)size * sizeof *t->merges);
    hyb_byte_spelling(to_byte);
    m.result = (uint32_t)-2;
    for (i = 0; i < source->merges.count; i++) {
        if (!hyb_merge_parse(t, hyb_string_at(&source->merges, i), to_byte, bytes, (int32_t)(m.result + 1), &m)) {
            unusable++;
            continue;
        }
        m.rank = (uint32_t)i;
        for (at = hyb_merge_slot(t, m.left, m.right); t->merges[at].left != UINT32_MAX; at = (at + 1) & t->merge_mask) {
            HYB_STEPS(1);
            /* said twice: the first counts */
            if (t->merges[at].left == m.left && t->merges[at].right == m.right) break;
        }
        if (t->merges[at].left == UINT32_MAX) t->merges[at] = m;
    }
    hyb_free(t->rt, bytes);
    if (unusable)
        hyb_log(t->rt, HYBRID_LOG_WARN, "tokenizer: %llu of %llu merges name tokens that do not exist",
                (unsigned long long)unusable, (unsigned long long)source->merges.count);
    return HYBRID_OK;
}

/* spm and tiktoken merge whatever together is a token, by the token's score or id. Ranks order floats as unsigned
 * integers, best first. */
static hybrid_result hyb_vocab_make_ranks(hybrid_tokenizer *t, const void *scores, hybrid_error *error)
{
    size_t i;
    if (!(t->ranks = (uint32_t *)hyb_alloc(t->rt, t->n_tokens * sizeof *t->ranks)))
        return hyb_fail_memory(error, t->n_tokens * sizeof *t->ranks);
    for (i = 0; i < t->n_tokens; i++) {
        uint32_t bits = scores ? hyb_load_u32((const uint8_t *)scores + i * 4) : 0;
        if (!scores)
            t->ranks[i] = (uint32_t)i;
        else if ((bits & 0x7FFFFFFF) > 0x7F800000)
            t->ranks[i] = UINT32_MAX - 1; /* not a number: last */
        else if (bits & 0x80000000)
            t->ranks[i] = bits == 0x80000000 ? 0x7FFFFFFF : bits - 1; /* -0 is 0 */
        else
            t->ranks[i] = 0x7FFFFFFF - bits;
    }
    return HYBRID_OK;
}

static hybrid_result hyb_vocab_make_joined(hybrid_tokenizer *t, hybrid_error *error)
{
    size_t i;
    uint32_t at;
    if (!(t->joined = (uint32_t *)hyb_calloc(t->rt, 2048, sizeof *t->joined))) return hyb_fail_memory(error, 8192);
    for (i = 0; i < t->n_tokens; i++) {
        if (!hyb_token_mergeable(t, (int32_t)i)) continue;
        for (at = t->offsets[i]; at + 1 < t->offsets[i + 1]; at++) {
            uint32_t pair = (uint32_t)t->bytes[at] << 8 | t->bytes[at + 1], bit = 1u << (pair & 31);
            /* most are there: asking is faster than storing */
            if (!(t->joined[pair >> 5] & bit)) t->joined[pair >> 5] |= bit;
        }
    }
    return HYBRID_OK;
}

/* The tokens of single bytes: what byte-level BPE begins with, and what spm ends with where it knows no character. */
static void hyb_vocab_find_bytes(hybrid_tokenizer *t)
{
    int i;
    for (i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        if (!t->spm)
            t->byte_ids[i] = hyb_vocab_find_mergeable(t, &byte, 1);
        else if (t->byte_ids[i] < 0)
            t->fuse_unknown = true;
    }
}

static void hyb_vocab_destroy(hybrid_tokenizer *t)
{
    hybrid_runtime *rt = t->rt;
    hyb_free(rt, t->bytes);
    hyb_free(rt, t->offsets);
    hyb_free(rt, t->kinds);
    hyb_free(rt, t->ranks);
    hyb_free(rt, t->index);
    hyb_free(rt, t->merges);
    hyb_automaton_free(rt, &t->special);
    hyb_free(rt, t->specials);
    hyb_automaton_free(rt, &t->words);
    hyb_free(rt, t->word_ids);
    hyb_free(rt, t->special_pairs);
    hyb_free(rt, t->joined);
    hyb_free(rt, t->classes);
    hyb_free(rt, t->nfc);
    hyb_free(rt, t);
    hyb_runtime_release(rt);
}
#endif
