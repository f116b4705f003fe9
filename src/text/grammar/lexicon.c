/* text/grammar/lexicon: the tokens of a vocabulary, so that those which a text may go on with are found quickly: as
 * trees, written down in the order in which they are walked. A token's beginning that does not fit is left with all
 * that begins with it.
 *
 *     bytes    "cat" "car" "Car"    the tree of the bytes: c-a-t, c-a-r, C-a-r
 *     shapes   aaa   aaa   Aaa      the same with one symbol for all small letters, one for all capitals, one for the
 *                                   digits, one for the lead bytes that take the same bytes after them...
 *
 * Where a grammar makes no difference between small letters, it makes none between "cat" and "car": the tree of shapes
 * has a thirtieth of the nodes.
 *
 * Where it does, but few letters do anything else than the others, those tell which tokens to look at: for each letter
 * there are the tokens that have it, as bits, and the places where it stands in the tree of the bytes.
 *
 * Nearly all tokens are plain: whole characters, none of which means anything in a JSON string. They have trees of
 * their own, which are not walked where all plain characters lead to one state, that to one state, and so on: then only
 * their number matters. So in a string, of the whole vocabulary a twentieth is looked at. */
#ifndef HYB_TEXT_GRAMMAR_LEXICON_C
#define HYB_TEXT_GRAMMAR_LEXICON_C
#include "../../api/grammar.h"
#include "../../core/grow.c"
#include "../../core/lifetime.c"
#include "../tokenizer/tokenizer.c"

enum {
    HYB_DEEPEST_TOKEN = 65535, /* bytes */
    HYB_BRANCH_DEPTH = 3, /* a node that is deeper, or has fewer tokens below it, is not worth a look at its height */
    HYB_BRANCH_TOKENS = 32,
    HYB_PLAIN_LETTERS = 96,      /* of plain text: 0x20 to 0x7E, and one for all characters beyond */
    HYB_LETTER_BEYOND = 95,
    HYB_SPOT_NODES = 1 << 24 /* a spot is a node, and how many characters stand before it: 255 or more are 255 */
};

typedef struct hyb_spelling {
    hybrid_string bytes;
    int32_t id;
} hyb_spelling;

typedef struct hyb_tree_node {
    uint32_t skip;  /* the first node after this one that is not below it */
    uint32_t token; /* of the lists: the first that ends here or below; those of the next node end what ends here */
    uint16_t depth; /* bytes, this one included */
    uint8_t byte;   /* or symbol */
    uint8_t height; /* bytes of the longest token below, after this one; 0: not worth a look (hyb_tree_finish) */
} hyb_tree_node;

typedef struct hyb_tree {
    hyb_tree_node *nodes; /* (n + 1) */
    size_t n, capacity;
} hyb_tree;

/* How many tokens begin with what a node stands for. */
HYB_INLINE uint32_t hyb_tree_below(const hyb_tree *t, const hyb_tree_node *node)
{
    return t->nodes[node->skip].token - node->token;
}

struct hybrid_lexicon {
    hybrid_runtime *rt;
    hyb_tree plain, plain_shapes, others, other_shapes;
    int32_t *lists;         /* (n_lists) tokens in the order of each of the trees; before those: */
    int32_t *by_length;     /* plain tokens in order of their characters (n_plain), the first of the lists; */
    int32_t *ends;          /* tokens that end an answer (n_ends); */
    int32_t *named;         /* and the control tokens (n_controls) */
    uint32_t *all_plain;    /* (n_words) a bit for each plain token */
    uint32_t *has;          /* (HYB_PLAIN_LETTERS, n_words) a bit for each plain token that has the letter */
    uint32_t *spots;        /* (spot_first[HYB_PLAIN_LETTERS - 1]) where each letter stands in the plain tree, by */
                            /* rising nodes; NULL: that has too many nodes */
    uint32_t *lengths;      /* (longest + 3) how many of them have fewer characters than each number */
    hyb_spelling *spelling; /* (n_tokens) of every token that is text; the bytes are in `bytes` */
    hyb_spelling *controls; /* (n_controls) names of control tokens that end no answer, by rising id */
    char *bytes;
    size_t n_tokens, n_words, n_plain, n_ends, n_controls, n_lists;
    uint32_t longest, deepest; /* characters of a plain token; bytes of any */
    uint32_t spot_first[HYB_PLAIN_LETTERS]; /* the first spot of each letter, and behind the last */
    uint8_t symbols[256][2];   /* the bytes that each symbol stands for: first and last */
    uint8_t wide[256];         /* of those that stand for several, one more than their place in hyb_symbols; or 0 */
};

/* ---- shapes ---- */

/* Bytes that stand for more than themselves as symbols. Those that go on with a character depend on its first byte. */
static const uint8_t hyb_symbols[][3] = { { '0', '0', '9' },    { 'A', 'A', 'Z' },    { 'a', 'a', 'z' },
                                          { 0x80, 0x80, 0xBF }, { 0x81, 0x80, 0x9F }, { 0x82, 0x80, 0x8F },
                                          { 0x83, 0x90, 0x9F }, { 0x90, 0x90, 0xBF }, { 0xA0, 0xA0, 0xBF },
                                          { 0xC2, 0xC2, 0xDF }, { 0xE1, 0xE1, 0xEC }, { 0xEE, 0xEE, 0xEF },
                                          { 0xF1, 0xF1, 0xF3 } };

/* The bytes that each symbol stands for. */
static void hyb_symbols_fill(uint8_t symbols[256][2], uint8_t wide[256])
{
    size_t i;
    for (i = 0; i < 256; i++) symbols[i][0] = symbols[i][1] = (uint8_t)i;
    for (i = 0; i < HYB_COUNT(hyb_symbols); i++) {
        memcpy(symbols[hyb_symbols[i][0]], hyb_symbols[i] + 1, 2);
        wide[hyb_symbols[i][0]] = (uint8_t)(i + 1);
    }
}

/* Of a byte that goes on with no character. */
static uint8_t hyb_symbol_first(uint8_t b)
{
    size_t i;
    if (b >= 0x80 && b < 0xC0) return b < 0x90 ? 0x82 : b < 0xA0 ? 0x83 : 0xA0;
    for (i = 0; i < HYB_COUNT(hyb_symbols); i++)
        if (hyb_symbols[i][1] <= b && b <= hyb_symbols[i][2]) return hyb_symbols[i][0];
    return b;
}

/* Bytes as symbols. */
static void hyb_shape_of(const char *bytes, size_t n, char *shape)
{
    int more = 0; /* bytes of the character that are still to come, the next of which is low..high */
    uint8_t low = 0, high = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        const uint8_t b = (uint8_t)bytes[i];
        if (more && low <= b && b <= high) {
            shape[i] = (char)(low > 0x80 ? low : high == 0xBF ? 0x80 : high == 0x9F ? 0x81 : 0x82);
            more--;
            low = 0x80;
            high = 0xBF;
            continue;
        }
        more = b < 0xC2 || b > 0xF4 ? 0 : b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3;
        low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
        high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
        shape[i] = (char)hyb_symbol_first(b);
    }
}

/* The letter of a byte of plain text. */
HYB_INLINE uint32_t hyb_letter_of(uint8_t b) { return b < 0x80 ? b - 0x20u : (uint32_t)HYB_LETTER_BEYOND; }

/* ---- the trees ---- */

static int hyb_spelling_order(const void *a, const void *b)
{
    const hyb_spelling *x = (const hyb_spelling *)a, *y = (const hyb_spelling *)b;
    const int order = memcmp(x->bytes.data, y->bytes.data, HYB_MIN(x->bytes.size, y->bytes.size));
    if (order) return order;
    if (x->bytes.size != y->bytes.size) return x->bytes.size < y->bytes.size ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The number of characters of a plain text; 0: it is not plain. */
static uint32_t hyb_plain_length(hybrid_string s)
{
    const char *p = s.data, *end = p + s.size;
    uint32_t n = 0, code = 0;
    for (; p < end; n++) {
        const size_t used = hyb_utf8_read(p, end, &code);
        if (!used || code < 0x20 || code == '"' || code == '\\' || code == 0x7F) return 0;
        p += used;
    }
    return n;
}

/* Keeps the heights only where they are asked for: so that this is known without a look at anything else. */
static void hyb_tree_finish(hyb_tree *t)
{
    size_t i;
    for (i = 0; i < t->n; i++) {
        hyb_tree_node *node = &t->nodes[i];
        if (node->depth > HYB_BRANCH_DEPTH || hyb_tree_below(t, node) < HYB_BRANCH_TOKENS || node->height == 255)
            node->height = 0;
    }
}

/* The tree of n spellings, which are put in order, and their tokens behind those of the lists. single: each has a node
 * of its own for its end, also where another token is spelled the same. */
static hybrid_result hyb_tree_make(hybrid_lexicon *x, hyb_tree *t, hyb_spelling *list, size_t n, bool single,
                                   uint32_t *open, hybrid_error *error)
{
    size_t i, depth = 0, k;
    hybrid_result r;
    if (n > 1) qsort(list, n, sizeof *list, hyb_spelling_order);
    for (i = 0; i < n; i++) {
        const hybrid_string s = list[i].bytes;
        size_t same = 0;
        while (i && same < s.size && same < list[i - 1].bytes.size && s.data[same] == list[i - 1].bytes.data[same])
            same++;
        if (single && same == s.size) same--;
        for (k = same; k < depth; k++) t->nodes[open[k]].skip = (uint32_t)t->n;
        if ((r = HYB_GROW(x->rt, t->nodes, t->capacity, t->n, t->n + s.size + 1, error)) != HYBRID_OK) return r;
        for (k = same; k < s.size; k++) {
            hyb_tree_node *node = &t->nodes[open[k] = (uint32_t)t->n++];
            memset(node, 0, sizeof *node);
            node->byte = (uint8_t)s.data[k];
            node->depth = (uint16_t)(k + 1);
            node->token = (uint32_t)x->n_lists;
        }
        for (k = 0; k < s.size; k++) {
            hyb_tree_node *node = &t->nodes[open[k]];
            node->height = (uint8_t)HYB_MAX((size_t)node->height, HYB_MIN(s.size - k - 1, 255));
        }
        depth = s.size;
        x->lists[x->n_lists++] = list[i].id;
    }
    if ((r = HYB_GROW(x->rt, t->nodes, t->capacity, t->n, t->n + 1, error)) != HYBRID_OK) return r;
    for (k = 0; k < depth; k++) t->nodes[open[k]].skip = (uint32_t)t->n;
    memset(&t->nodes[t->n], 0, sizeof *t->nodes);
    t->nodes[t->n].token = (uint32_t)x->n_lists;
    hyb_tree_finish(t);
    return HYBRID_OK;
}

/* ---- the lexicon ---- */

static void hyb_lexicon_free(hybrid_lexicon *x)
{
    hybrid_runtime *rt = x->rt;
    void *const blocks[] = { x->plain.nodes,
                             x->plain_shapes.nodes,
                             x->others.nodes,
                             x->other_shapes.nodes,
                             x->lists,
                             x->all_plain,
                             x->has,
                             x->spots,
                             x->lengths,
                             x->spelling,
                             x->controls,
                             x->bytes,
                             x };
    size_t i;
    for (i = 0; i < HYB_COUNT(blocks); i++) hyb_free(rt, blocks[i]);
    hyb_runtime_release(rt);
}

/* Copies the bytes of all tokens that are text, and lists those that end an answer. */
static hybrid_result hyb_lexicon_copy(hybrid_lexicon *x, const hybrid_tokenizer *tok, hybrid_error *error)
{
    size_t size = 0, n_controls = 0, at = 0, i;
    for (i = 0; i < x->n_tokens; i++) {
        size += hybrid_token_bytes(tok, (int32_t)i).size;
        n_controls += hybrid_token_kind(tok, (int32_t)i) == HYBRID_TOKEN_CONTROL;
    }
    x->spelling = (hyb_spelling *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *x->spelling);
    x->lists = (int32_t *)hyb_calloc(x->rt, x->n_tokens + 1, 3 * sizeof *x->lists); /* each is in so many of them */
    x->controls = (hyb_spelling *)hyb_calloc(x->rt, n_controls + 1, sizeof *x->controls);
    x->all_plain = (uint32_t *)hyb_calloc(x->rt, x->n_words + 1, sizeof *x->all_plain);
    x->bytes = (char *)hyb_alloc(x->rt, size);
    if (!x->spelling || !x->lists || !x->controls || !x->all_plain || !x->bytes)
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for the bytes of %llu tokens",
                        (unsigned long long)x->n_tokens);
    for (i = 0; i < x->n_tokens; i++) {
        const hybrid_token_type kind = hybrid_token_kind(tok, (int32_t)i);
        const hybrid_string s = hybrid_token_bytes(tok, (int32_t)i);
        x->spelling[i].id = (int32_t)i;
        x->spelling[i].bytes.data = x->bytes + at;
        if (hybrid_token_is_end(tok, (int32_t)i)) continue;
        if (kind == HYBRID_TOKEN_UNKNOWN || kind == HYBRID_TOKEN_UNUSED || !s.size) continue;
        if (s.size > HYB_DEEPEST_TOKEN)
            return hyb_fail(error, HYBRID_ERROR_LIMIT, "token %d has %llu bytes: masks are made of tokens of up to %d",
                            (int)i, (unsigned long long)s.size, HYB_DEEPEST_TOKEN);
        memcpy(x->bytes + at, s.data, s.size);
        at += s.size;
        if (kind == HYBRID_TOKEN_CONTROL) {
            x->controls[x->n_controls] = x->spelling[i];
            x->controls[x->n_controls++].bytes.size = s.size;
            continue;
        }
        x->spelling[i].bytes.size = s.size;
        x->deepest = HYB_MAX(x->deepest, (uint32_t)s.size);
        x->longest = HYB_MAX(x->longest, hyb_plain_length(x->spelling[i].bytes));
    }
    return HYBRID_OK;
}

/* Sorts the plain ones by their characters: first counts, then places. */
static hybrid_result hyb_lexicon_measure(hybrid_lexicon *x, hybrid_error *error)
{
    size_t i;
    if (!(x->lengths = (uint32_t *)hyb_calloc(x->rt, (size_t)x->longest + 3, sizeof *x->lengths)))
        return hyb_fail_memory(error, ((size_t)x->longest + 3) * sizeof *x->lengths);
    for (i = 0; i < x->n_tokens; i++) {
        const uint32_t n = hyb_plain_length(x->spelling[i].bytes);
        if (n) x->lengths[n + 2]++;
        if (n) x->all_plain[i / 32] |= 1u << i % 32;
    }
    for (i = 1; i < (size_t)x->longest + 3; i++) x->lengths[i] += x->lengths[i - 1];
    x->n_plain = x->lengths[x->longest + 2];
    x->by_length = x->lists;
    for (i = 0; i < x->n_tokens; i++) {
        const uint32_t n = hyb_plain_length(x->spelling[i].bytes);
        if (n) x->by_length[x->lengths[n + 1]++] = (int32_t)i;
    }
    x->n_lists = x->n_plain;
    return HYBRID_OK;
}

/* The tokens that end an answer, and the control tokens. */
static void hyb_lexicon_marks(hybrid_lexicon *x, const hybrid_tokenizer *tok)
{
    size_t i;
    x->ends = x->lists + x->n_lists;
    for (i = 0; i < x->n_tokens; i++)
        if (hybrid_token_is_end(tok, (int32_t)i)) x->ends[x->n_ends++] = (int32_t)i;
    x->named = x->ends + x->n_ends;
    for (i = 0; i < x->n_controls; i++) x->named[i] = x->controls[i].id;
    x->n_lists += x->n_ends + x->n_controls;
}

/* The name of a control token, or nothing. */
static hybrid_string hyb_lexicon_control(const hybrid_lexicon *x, int32_t id)
{
    const hybrid_string none = { NULL, 0 };
    size_t low = 0, high = x->n_controls;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (x->controls[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < x->n_controls && x->controls[low].id == id ? x->controls[low].bytes : none;
}

/* Spellings become shapes. */
static void hyb_lexicon_shape(const hybrid_lexicon *x, hyb_spelling *list, size_t n, char *shapes)
{
    for (; n; n--, list++) {
        char *to = shapes + (list->bytes.data - x->bytes);
        hyb_shape_of(list->bytes.data, list->bytes.size, to);
        list->bytes.data = to;
    }
}

/* The four trees. list: room for all tokens, open for the bytes of the longest, shapes for all bytes. */
static hybrid_result hyb_lexicon_trees(hybrid_lexicon *x, hyb_spelling *list, uint32_t *open, char *shapes,
                                       hybrid_error *error)
{
    size_t plain = 0, others = x->n_tokens, i;
    hybrid_result r;
    for (i = 0; i < x->n_tokens; i++) /* plain ones from the front, the others from the end */
        if (x->spelling[i].bytes.size) list[x->all_plain[i / 32] >> i % 32 & 1 ? plain++ : --others] = x->spelling[i];
    if ((r = hyb_tree_make(x, &x->plain, list, plain, true, open, error)) != HYBRID_OK ||
        (r = hyb_tree_make(x, &x->others, list + others, x->n_tokens - others, true, open, error)) != HYBRID_OK)
        return r;
    hyb_lexicon_shape(x, list, plain, shapes);
    hyb_lexicon_shape(x, list + others, x->n_tokens - others, shapes);
    r = hyb_tree_make(x, &x->plain_shapes, list, plain, false, open, error);
    return r ? r : hyb_tree_make(x, &x->other_shapes, list + others, x->n_tokens - others, false, open, error);
}

/* Which plain tokens have each letter. */
static hybrid_result hyb_lexicon_letters(hybrid_lexicon *x, hybrid_error *error)
{
    size_t i, k;
    if (!(x->has = (uint32_t *)hyb_calloc(x->rt, HYB_PLAIN_LETTERS * x->n_words + 1, sizeof *x->has)))
        return hyb_fail_memory(error, HYB_PLAIN_LETTERS * x->n_words * sizeof *x->has);
    for (i = 0; i < x->n_tokens; i++) {
        const hybrid_string s = x->spelling[i].bytes;
        if (!(x->all_plain[i / 32] >> i % 32 & 1)) continue;
        for (k = 0; k < s.size; k++) x->has[hyb_letter_of((uint8_t)s.data[k]) * x->n_words + i / 32] |= 1u << i % 32;
    }
    return HYBRID_OK;
}

/* Where each letter stands in the tree of plain tokens: first counts, then places. open: room for the bytes of the
 * longest token, for how many characters stand before each. */
static hybrid_result hyb_lexicon_spots(hybrid_lexicon *x, uint32_t *open, hybrid_error *error)
{
    const hyb_tree *t = &x->plain;
    uint32_t at[HYB_PLAIN_LETTERS], i, k;
    if (t->n >= HYB_SPOT_NODES) return HYBRID_OK;
    memset(at, 0, sizeof at);
    for (i = 0; i < t->n; i++) at[hyb_letter_of(t->nodes[i].byte)]++;
    for (k = 0; k < HYB_LETTER_BEYOND; k++) x->spot_first[k + 1] = x->spot_first[k] + at[k];
    memcpy(at, x->spot_first, sizeof at);
    if (!(x->spots = (uint32_t *)hyb_calloc(x->rt, (size_t)x->spot_first[HYB_LETTER_BEYOND] + 1, sizeof *x->spots)))
        return hyb_fail_memory(error, (x->spot_first[HYB_LETTER_BEYOND] + 1) * sizeof *x->spots);
    for (i = 0; i < t->n; i++) {
        const hyb_tree_node *node = &t->nodes[i];
        const uint32_t before = node->depth > 1 ? open[node->depth - 2] : 0;
        k = hyb_letter_of(node->byte);
        open[node->depth - 1] = before + ((node->byte & 0xC0) != 0x80);
        if (k != HYB_LETTER_BEYOND) x->spots[at[k]++] = i | HYB_MIN(before, 255u) << 24;
    }
    return HYBRID_OK;
}

static hybrid_result hyb_lexicon_build(hybrid_lexicon *x, const hybrid_tokenizer *tok, hybrid_error *error)
{
    hyb_spelling *list;
    uint32_t *open;
    char *shapes;
    size_t size = 0, i;
    hybrid_result r;
    x->n_tokens = (size_t)hybrid_vocab_size(tok);
    x->n_words = (x->n_tokens + 31) / 32;
    if ((r = hyb_lexicon_copy(x, tok, error)) != HYBRID_OK || (r = hyb_lexicon_measure(x, error)) != HYBRID_OK ||
        (r = hyb_lexicon_letters(x, error)) != HYBRID_OK)
        return r;
    hyb_lexicon_marks(x, tok);
    hyb_symbols_fill(x->symbols, x->wide);
    for (i = 0; i < x->n_tokens; i++) size += hybrid_token_bytes(tok, (int32_t)i).size;
    list = (hyb_spelling *)hyb_calloc(x->rt, x->n_tokens + 1, sizeof *list);
    open = (uint32_t *)hyb_calloc(x->rt, (size_t)x->deepest + 1, sizeof *open);
    shapes = (char *)hyb_alloc(x->rt, size + 1);
    if (list && open && shapes)
        r = hyb_lexicon_trees(x, list, open, shapes, error);
    else
        r = hyb_fail_memory(error, (x->n_tokens + 1) * sizeof *list);
    if (!r) r = hyb_lexicon_spots(x, open, error);
    hyb_free(x->rt, list);
    hyb_free(x->rt, open);
    hyb_free(x->rt, shapes);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_lexicon_create,
           (const hybrid_tokenizer *tokenizer, hybrid_lexicon **lexicon, hybrid_error *error),
           (tokenizer, lexicon, error))
{
    hybrid_lexicon *x;
    hybrid_runtime *rt;
    hybrid_result r;
    if (lexicon) *lexicon = NULL;
    if (!tokenizer || !lexicon)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_lexicon_create: %s is NULL",
                        tokenizer ? "lexicon" : "tokenizer");
    if ((r = hyb_runtime_retain(tokenizer->rt, &rt, error)) != HYBRID_OK) return r;
    if (!(x = (hybrid_lexicon *)hyb_calloc(rt, 1, sizeof *x))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *x);
    }
    x->rt = rt;
    if ((r = hyb_lexicon_build(x, tokenizer, error)) != HYBRID_OK) {
        hyb_lexicon_free(x);
        return r;
    }
    *lexicon = x;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_lexicon_destroy, (hybrid_lexicon * lexicon), (lexicon))
{
    if (lexicon) hyb_lexicon_free(lexicon);
}
#endif
