/* train/conversation: a line of JSON Lines as tokens, and which of them the assistant says.
 *
 * What it says is found by rendering: the prompt of a turn, as it is when the model is asked, begins the text of the
 * conversation up to and with that turn, and what follows is the answer. It ends with the token that ends a turn; what
 * a template puts after it (a line break) is not counted. The text is tokenized as a whole, as transformers does, but
 * control tokens that a message spells out stay letters, as in a prompt; a token that reaches over the beginning of an
 * answer belongs to it.
 *
 * Some templates write earlier turns otherwise than the last one (without what was thought): then every turn becomes a
 * conversation of its own, with the others before it as the template has them there. */
#ifndef HYB_TRAIN_CONVERSATION_C
#define HYB_TRAIN_CONVERSATION_C
#include "../core/grow.c"
#include "../infer/prompt.c"
#include "../text/chat.c"
#include "../text/tokenizer/tokenizer.c"
#include "corpus.c"

typedef struct hyb_span {
    size_t begin, end; /* bytes */
    float weight;      /* 0: it is not counted */
} hyb_span;

typedef struct hyb_conversation {
    hybrid_runtime *rt;
    const hybrid_tokenizer *tok;
    const hybrid_template *tmpl;
    hyb_corpus *corpus;
    hybrid_chat_desc desc;
    char names[6][64]; /* of special tokens */
    hybrid_text whole, prompt, turn, tools;
    char *json; /* what is given to the template */
    size_t json_size, json_room;
    int32_t *ids;
    size_t room;
    hybrid_span *own; /* of a piece of text: the words of the template */
    size_t own_room;
    hyb_span *spans; /* what the assistant says in the text */
    size_t n_spans, spans_room;
    bool parse_special; /* control tokens that messages spell out become tokens */
    hyb_json_doc doc;
    const hyb_json *messages;
    bool bad; /* the failure is the line's: others may be good */
} hyb_conversation;

static void hyb_conversation_make(hyb_conversation *c)
{
    memset(&c->desc, 0, sizeof c->desc);
    c->desc.merge_system = true;
    c->desc.bos_token = hyb_special_name(c->tok, HYBRID_ROLE_BOS, c->names[0]);
    c->desc.eos_token = hyb_special_name(c->tok, HYBRID_ROLE_EOS, c->names[1]);
    c->desc.unk_token = hyb_special_name(c->tok, HYBRID_ROLE_UNKNOWN, c->names[2]);
    c->desc.sep_token = hyb_special_name(c->tok, HYBRID_ROLE_SEPARATOR, c->names[3]);
    c->desc.pad_token = hyb_special_name(c->tok, HYBRID_ROLE_PADDING, c->names[4]);
    c->desc.mask_token = hyb_special_name(c->tok, HYBRID_ROLE_MASK, c->names[5]);
}

static void hyb_conversation_free(hyb_conversation *c)
{
    hybrid_text_free(&c->whole);
    hybrid_text_free(&c->prompt);
    hybrid_text_free(&c->turn);
    hybrid_text_free(&c->tools);
    hyb_json_free(&c->doc);
    hyb_free(c->rt, c->json);
    hyb_free(c->rt, c->ids);
    hyb_free(c->rt, c->own);
    hyb_free(c->rt, c->spans);
}

/* A hybrid_write_fn; user: a conversation, whose json grows. */
static bool hyb_conversation_write(void *user, const void *data, size_t n)
{
    hyb_conversation *c = (hyb_conversation *)user;
    if (HYB_GROW(c->rt, c->json, c->json_room, c->json_size, c->json_size + n + 1, NULL)) return false;
    memcpy(c->json + c->json_size, data, n);
    c->json_size += n;
    c->json[c->json_size] = 0;
    return true;
}

static hybrid_result hyb_conversation_bad(hyb_conversation *c, hybrid_error *error, const char *why)
{
    c->bad = true;
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "%s", why);
}

/* The first n messages. */
static hybrid_result hyb_conversation_render(hyb_conversation *c, uint32_t n, bool ask, hybrid_text *out,
                                             hybrid_error *error)
{
    const hyb_json *m = hyb_json_first(c->messages);
    hybrid_result r;
    uint32_t i;
    bool ok;
    c->json_size = 0;
    ok = hyb_conversation_write(c, "[", 1);
    for (i = 0; i < n && ok; i++, m = hyb_json_next(m))
        ok = (!i || hyb_conversation_write(c, ",", 1)) && hyb_json_write(m, hyb_conversation_write, c);
    if (!ok || !hyb_conversation_write(c, "]", 1)) return hyb_fail_memory(error, c->json_size);
    c->desc.messages = c->json;
    c->desc.add_generation_prompt = ask;
    r = hybrid_chat_render(c->tmpl, NULL, 0, &c->desc, out, error);
    c->bad = r && r != HYBRID_ERROR_MEMORY;
    return r;
}

HYB_INLINE bool hyb_text_begins(const hybrid_text *text, const hybrid_text *with)
{
    return text->size >= with->size && (!with->size || !memcmp(text->data, with->data, with->size));
}

/* Where the content of a message stands in text, soon after `from`; SIZE_MAX: nowhere. White space around it may be
 * gone. */
static size_t hyb_conversation_find(const hybrid_text *text, size_t from, const hyb_json *content)
{
    const char *p = content && content->type == HYB_JSON_STRING ? content->u.s : "";
    size_t n = content && content->type == HYB_JSON_STRING ? content->n : 0, at;
    while (n && (unsigned char)*p <= ' ') {
        p++;
        n--;
    }
    while (n && (unsigned char)p[n - 1] <= ' ') n--;
    for (at = from; n && at + n <= text->size && at - from < 1024; at++)
        if (!memcmp(text->data + at, p, n)) return at;
    return SIZE_MAX;
}

/* Renders a turn of the assistant and what is before it into c->turn; *begin: where what it says begins. */
static hybrid_result hyb_conversation_turn(hyb_conversation *c, uint32_t i, const hyb_json *message, size_t *begin,
                                           hybrid_error *error)
{
    hybrid_result r = hyb_conversation_render(c, i, true, &c->prompt, error);
    if (!r) r = hyb_conversation_render(c, i + 1, false, &c->turn, error);
    if (r) return r;
    *begin = c->prompt.size;
    if (hyb_text_begins(&c->turn, &c->prompt)) return HYBRID_OK;
    /* the prompt has more than the turn, say an empty <think>: the turn begins with the content */
    if ((r = hyb_conversation_render(c, i, false, &c->prompt, error)) != HYBRID_OK) return r;
    *begin = SIZE_MAX;
    if (hyb_text_begins(&c->turn, &c->prompt))
        *begin = hyb_conversation_find(&c->turn, c->prompt.size, hyb_json_get(message, "content"));
    if (*begin != SIZE_MAX) return HYBRID_OK;
    return hyb_conversation_bad(c, error, "the template does not show which part of a conversation the assistant says");
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

/* The tokens of bytes begin..end of a rendering: c->ids. */
static hybrid_result hyb_conversation_tokenize(hyb_conversation *c, const hybrid_text *text, size_t begin, size_t end,
                                               size_t *n, hybrid_error *error)
{
    const char *p = text->data + begin;
    hybrid_result r = HYB_GROW(c->rt, c->ids, c->room, 0, 3 * (end - begin) + 4, error);
    size_t i, n_own = 0;
    if (r) return r;
    if (c->parse_special)
        return hybrid_tokenize(c->tok, p, end - begin, HYBRID_TOKENIZE_PARSE_SPECIAL, c->ids, c->room, n, error);
    if ((r = HYB_GROW(c->rt, c->own, c->own_room, 0, text->n_own, error)) != HYBRID_OK) return r;
    for (i = 0; i < text->n_own; i++) {
        const hybrid_span *own = &text->own[i];
        if (own->end <= begin || own->begin >= end) continue;
        c->own[n_own].begin = HYB_MAX(own->begin, begin) - begin;
        c->own[n_own++].end = HYB_MIN(own->end, end) - begin;
    }
    return hybrid_tokenize_spans(c->tok, p, end - begin, c->own, n_own, 0, c->ids, c->room, n, error);
}

/* Where the token at p ends, if it stands there; NULL: it does not. SentencePiece puts a space in front of words, which
 * the text may not have. */
static const char *hyb_conversation_token_end(const hyb_conversation *c, int32_t id, const char *p, const char *end)
{
    hybrid_string s = hybrid_token_bytes(c->tok, id);
    if (s.size <= (size_t)(end - p) && !memcmp(p, s.data, s.size)) return p + s.size;
    if (!c->tok->add_space || !s.size || *s.data != ' ') return NULL;
    s.data++;
    s.size--;
    return s.size <= (size_t)(end - p) && !memcmp(p, s.data, s.size) ? p + s.size : NULL;
}

/* Tokens that count so much; a failure is that of the whole line, which is then cut off again. */
static hybrid_result hyb_conversation_append(hyb_conversation *c, const int32_t *ids, size_t n, float weight,
                                             hybrid_error *error)
{
    if ((weight > 0 && weight < 1 && n && !hyb_corpus_weigh(c->corpus, n, weight)) ||
        !hyb_corpus_append(c->corpus, ids, n, weight > 0))
        return hyb_budget_fail(&c->corpus->memory, "keeping tokens", error);
    return HYBRID_OK;
}

/* Tokens begin..end of what the assistant says: those after the last one that ends a turn are not its own. */
static size_t hyb_conversation_said(const hyb_conversation *c, size_t begin, size_t end)
{
    size_t i;
    for (i = end; i > begin; i--)
        if (hybrid_token_is_end(c->tok, c->ids[i - 1])) return i;
    return end;
}

/* All of a text that was tokenized as a whole: c->ids, n of them. *fits: false when it is not the tokens' text, because
 * the tokenizer changed it (normalization); then nothing was appended. */
static hybrid_result hyb_conversation_whole(hyb_conversation *c, const char *text, size_t n, bool *fits,
                                            hybrid_error *error)
{
    const char *p = text, *end = text + c->spans[c->n_spans - 1].end;
    const size_t n_tokens = c->corpus->n_tokens;
    size_t i = 0, from = 0, k;
    hybrid_result r = HYBRID_OK;
    *fits = true;
    for (k = 0; k < c->n_spans && !r; k++) {
        const hyb_span *span = &c->spans[k];
        size_t first = SIZE_MAX, said;
        for (; i < n && p < text + span->end; i++) {
            const char *next = hyb_conversation_token_end(c, c->ids[i], p, end);
            if (!next) break;
            if (first == SIZE_MAX && next > text + span->begin) first = i;
            p = next;
        }
        if (p < text + span->end) {
            *fits = false;
            hyb_corpus_cut(c->corpus, n_tokens, c->corpus->n_pieces);
            return HYBRID_OK;
        }
        if (first == SIZE_MAX) continue; /* nothing is said */
        said = hyb_conversation_said(c, first, i);
        r = hyb_conversation_append(c, c->ids + from, first - from, 0, error);
        if (!r) r = hyb_conversation_append(c, c->ids + first, said - first, span->weight, error);
        from = said;
    }
    return r ? r : hyb_conversation_append(c, c->ids + from, n - from, 0, error);
}

/* The same, the pieces tokenized apart. */
static hybrid_result hyb_conversation_parts(hyb_conversation *c, const hybrid_text *text, hybrid_error *error)
{
    size_t k, n, said, at = 0;
    hybrid_result r = HYBRID_OK;
    for (k = 0; k < c->n_spans && !r; k++) {
        const hyb_span *span = &c->spans[k];
        r = hyb_conversation_tokenize(c, text, at, span->begin, &n, error);
        if (!r) r = hyb_conversation_append(c, c->ids, n, 0, error);
        if (!r) r = hyb_conversation_tokenize(c, text, span->begin, span->end, &n, error);
        if (r) break;
        said = hyb_conversation_said(c, 0, n);
        r = hyb_conversation_append(c, c->ids, said, span->weight, error);
        if (!r) r = hyb_conversation_append(c, c->ids + said, n - said, 0, error);
        at = span->end;
    }
    return r;
}

/* The windows of the tokens from `first` on in which something is said; each is a piece. */
static hybrid_result hyb_conversation_pieces(hyb_conversation *c, size_t first, hybrid_error *error)
{
    hyb_corpus *corpus = c->corpus;
    const size_t n_ctx = (size_t)corpus->n_ctx;
    size_t at, k, n;
    for (at = first; at + 1 < corpus->n_tokens; at += n_ctx) {
        n = HYB_MIN(corpus->n_tokens - at, n_ctx + 1);
        for (k = 1; k < n && !(corpus->marks && hyb_corpus_marked(corpus, at + k)); k++) {}
        if (k < n && !hyb_corpus_add_piece(corpus, 0, at, n))
            return hyb_budget_fail(&corpus->memory, "listing conversations", error);
    }
    return HYBRID_OK;
}

/* The text up to the end of the last span, as tokens and pieces. */
static hybrid_result hyb_conversation_take(hyb_conversation *c, const hybrid_text *text, hybrid_error *error)
{
    const int32_t bos = hybrid_token_role_id(c->tok, HYBRID_ROLE_BOS);
    const size_t first = c->corpus->n_tokens;
    bool fits;
    size_t n;
    hybrid_result r = hyb_conversation_tokenize(c, text, 0, c->spans[c->n_spans - 1].end, &n, error);
    if (!r && hybrid_tokenizer_adds_bos(c->tok) && (!n || c->ids[0] != bos))
        r = hyb_conversation_append(c, &bos, 1, 0, error);
    if (!r) r = hyb_conversation_whole(c, text->data, n, &fits, error);
    if (!r && !fits) r = hyb_conversation_parts(c, text, error);
    return r ? r : hyb_conversation_pieces(c, first, error);
}

static hybrid_result hyb_conversation_span(hyb_conversation *c, size_t begin, size_t end, float weight,
                                           hybrid_error *error)
{
    const hybrid_result r = HYB_GROW(c->rt, c->spans, c->spans_room, c->n_spans, c->n_spans + 1, error);
    if (r) return r;
    c->spans[c->n_spans].begin = begin;
    c->spans[c->n_spans].end = end;
    c->spans[c->n_spans++].weight = weight;
    return HYBRID_OK;
}

/* ---- a line ------------------------------------------------------------------------------------------------------ */

static bool hyb_conversation_says(const hyb_json *message)
{
    const hyb_json *role = hyb_json_get(message, "role");
    return role && role->type == HYB_JSON_STRING && !strcmp(role->u.s, "assistant");
}

/* How much a turn counts, from 0 to 1: OpenAI's "weight", which is 0 or 1 there. Less than 0: not such a number. */
static float hyb_conversation_weight(const hyb_json *message)
{
    const hyb_json *weight = hyb_json_get(message, "weight");
    double v = -1;
    if (!weight || weight->type == HYB_JSON_NULL) return 1;
    if (weight->type == HYB_JSON_INT) v = (double)weight->u.i;
    if (weight->type == HYB_JSON_REAL) v = weight->u.d;
    return v >= 0 && v <= 1 ? (float)v : -1;
}

static hybrid_result hyb_conversation_read(hyb_conversation *c, const char *line, size_t size, hybrid_error *error)
{
    const hyb_json *m, *tools;
    hybrid_result r;
    uint32_t i, said = 0;
    hyb_json_free(&c->doc);
    c->tools.size = 0;
    c->desc.tools = NULL;
    r = hyb_json_parse(c->rt, line, size, HYB_JSON_DEPTH, SIZE_MAX, &c->doc, error);
    c->bad = r && r != HYBRID_ERROR_MEMORY;
    if (r) return r;
    c->messages = hyb_json_get(c->doc.root, "messages");
    if (!c->messages || c->messages->type != HYB_JSON_ARRAY)
        return hyb_conversation_bad(c, error, "there is no list \"messages\"");
    for (i = 0, m = hyb_json_first(c->messages); i < c->messages->n; i++, m = hyb_json_next(m)) {
        const hyb_json *role = hyb_json_get(m, "role");
        if (!role || role->type != HYB_JSON_STRING)
            return hyb_conversation_bad(c, error, "a message is not an object with a \"role\"");
        if (!hyb_conversation_says(m)) continue;
        if (hyb_conversation_weight(m) < 0)
            return hyb_conversation_bad(c, error, "the \"weight\" of a message is a number from 0 to 1");
        said += hyb_conversation_weight(m) > 0;
    }
    if (!said) return hyb_conversation_bad(c, error, "the assistant says nothing");
    if (!(tools = hyb_json_get(c->doc.root, "tools")) || tools->type != HYB_JSON_ARRAY) return HYBRID_OK;
    c->json_size = 0;
    if (!hyb_json_write(tools, hyb_conversation_write, c)) return hyb_fail_memory(error, c->json_size);
    r = hyb_text_set(c->rt, &c->tools, c->json, c->json_size, error);
    c->desc.tools = c->tools.data;
    return r;
}

/* Every turn a conversation of its own. */
static hybrid_result hyb_conversation_apart(hyb_conversation *c, hybrid_error *error)
{
    const hyb_json *m;
    hybrid_result r = HYBRID_OK;
    uint32_t i;
    for (i = 0, m = hyb_json_first(c->messages); i < c->messages->n && !r; i++, m = hyb_json_next(m)) {
        size_t begin;
        if (!hyb_conversation_says(m) || !(hyb_conversation_weight(m) > 0)) continue;
        c->n_spans = 0;
        r = hyb_conversation_turn(c, i, m, &begin, error);
        if (!r) r = hyb_conversation_span(c, begin, c->turn.size, hyb_conversation_weight(m), error);
        if (!r) r = hyb_conversation_take(c, &c->turn, error);
    }
    return r;
}

/* All turns in one text. *apart: the template does not write them so. */
static hybrid_result hyb_conversation_together(hyb_conversation *c, bool *apart, hybrid_error *error)
{
    const hyb_json *m;
    hybrid_result r = hyb_conversation_render(c, c->messages->n, false, &c->whole, error);
    uint32_t i;
    *apart = false;
    c->n_spans = 0;
    for (i = 0, m = hyb_json_first(c->messages); i < c->messages->n && !r; i++, m = hyb_json_next(m)) {
        size_t begin;
        if (!hyb_conversation_says(m)) continue;
        if ((r = hyb_conversation_turn(c, i, m, &begin, error)) != HYBRID_OK) return r;
        if (!hyb_text_begins(&c->whole, &c->turn) || (c->n_spans && begin < c->spans[c->n_spans - 1].end)) {
            *apart = true;
            return HYBRID_OK;
        }
        r = hyb_conversation_span(c, begin, c->turn.size, hyb_conversation_weight(m), error);
    }
    return r ? r : hyb_conversation_take(c, &c->whole, error);
}

/* Adds a line to the corpus; one that cannot be used leaves it as it was, and c->bad says so. */
static hybrid_result hyb_conversation_add(hyb_conversation *c, const char *line, size_t size, hybrid_error *error)
{
    const size_t n_tokens = c->corpus->n_tokens, n_pieces = c->corpus->n_pieces;
    hybrid_result r = hyb_conversation_read(c, line, size, error);
    bool apart = false;
    if (!r) r = hyb_conversation_together(c, &apart, error);
    if (!r && apart) {
        hyb_corpus_cut(c->corpus, n_tokens, n_pieces);
        r = hyb_conversation_apart(c, error);
    }
    if (!r && c->corpus->n_pieces == n_pieces) r = hyb_conversation_bad(c, error, "the assistant says nothing");
    if (r) hyb_corpus_cut(c->corpus, n_tokens, n_pieces);
    return r;
}
#endif
