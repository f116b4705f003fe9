/* hybrid.hpp: hybrid for C++11 and later: every object is a class that ends it. Header only; hybrid.h beside it.
 *
 *     #define HYBRID_IMPLEMENTATION         in one file, as for hybrid.h
 *     #include "hybrid.hpp"
 *
 *     hybrid::model model;
 *     hybrid::session chat;
 *     hybrid::error why;
 *     if (model.load("model.gguf", &why) || chat.create(model, hybrid::session_desc(), &why)) return say(why.message);
 *     chat.say("Why is the sky blue?");
 *     while (const char *piece = chat.next()) std::fputs(piece, stdout);
 *
 * No exceptions are thrown, and none are needed: what can fail returns hybrid_result (0: it went well) as in C, and
 * fills an error when it is given one. So the header serves programs that are compiled with -fno-exceptions, and one
 * that wants to throw does so in one place of its own. Objects move and are not copied; one that was not made, or was
 * moved from, is empty: get() is NULL, every method answers as the C function does for NULL. What an object is made of
 * must outlive it (a model its contexts, a grammar its matchers), as in C: declare them in that order.
 *
 * Descriptors are the structs of C with all members zero: model_desc d; d.path = "...". What each function does, and
 * takes, stands in hybrid.h.
 *
 * Left out, to be called as they are (see tests/gates/wrapper.py, which holds this list):
 *   hybrid_plan                 a question before there is an object
 *   hybrid_tokenizer_to_gguf, hybrid_tokenizer_write   writers of files: a tool's business
 *   hybrid_utf8_feed, hybrid_utf8_flush                their struct has nothing to be ended
 *   hybrid_stop_matcher_*       streams and sessions have one
 *   hybrid_adapter_merge        makes a file, of several adapters */
#ifndef HYBRID_HPP
#define HYBRID_HPP
#include "hybrid.h"
#include <string>
#include <vector>

namespace hybrid {

/* A struct of C that begins as zero. */
template <class T> struct zeroed : T {
    zeroed() : T() {}
};
typedef zeroed<hybrid_error> error;
typedef zeroed<hybrid_model_desc> model_desc;
typedef zeroed<hybrid_context_desc> context_desc;
typedef zeroed<hybrid_sampler_desc> sampler_desc;
typedef zeroed<hybrid_adapter_desc> adapter_desc;
#ifndef HYBRID_NO_TEXT
typedef zeroed<hybrid_tokenizer_desc> tokenizer_desc;
typedef zeroed<hybrid_prompt_desc> prompt_desc;
typedef zeroed<hybrid_stream_desc> stream_desc;
typedef zeroed<hybrid_session_desc> session_desc;
typedef zeroed<hybrid_answer_desc> answer_desc;
typedef zeroed<hybrid_piece> answer_piece;
#endif

/* Owns one object, and ends it. */
template <class T, void (*Destroy)(T *)> class handle {
public:
    handle() : object(NULL) {}
    explicit handle(T *taken) : object(taken) {}
    handle(handle &&other) : object(other.release()) {}
    handle &operator=(handle &&other)
    {
        if (this != &other) reset(other.release());
        return *this;
    }
    ~handle() { reset(); }
    T *get() const { return object; }
    explicit operator bool() const { return object != NULL; }
    T *release()
    {
        T *const given = object;
        object = NULL;
        return given;
    }
    void reset(T *taken = NULL)
    {
        if (object) Destroy(object);
        object = taken;
    }

protected:
    /* Takes what a function of C has made; after a failure this is as it was. */
    hybrid_result took(hybrid_result result, T *made)
    {
        if (!result) reset(made);
        return result;
    }

private:
    handle(const handle &);
    handle &operator=(const handle &);
    T *object;
};

class adapter;

class model : public handle<hybrid_model, hybrid_model_destroy> {
public:
    hybrid_result load(const hybrid_model_desc &desc, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        hybrid_model *made = NULL;
        const hybrid_result result = hybrid_model_load(runtime, &desc, &made, why);
        return took(result, made);
    }
    hybrid_result load(const char *path, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        model_desc desc;
        desc.path = path;
        return load(desc, why, runtime);
    }
    hybrid_model_info describe() const
    {
        hybrid_model_info info = hybrid_model_info();
        hybrid_model_describe(get(), &info);
        return info;
    }
    const hybrid_gguf *gguf() const { return hybrid_model_gguf(get()); }
    hybrid_runtime *runtime() const { return hybrid_model_runtime(get()); }
#ifndef HYBRID_NO_TEXT
    const hybrid_tokenizer *tokenizer() const { return hybrid_model_tokenizer(get()); }
    const hybrid_template *chat_template() const { return hybrid_model_template(get()); }
#endif
};

class adapter : public handle<hybrid_adapter, hybrid_adapter_destroy> {
public:
    hybrid_result create(const model &of, const hybrid_adapter_desc &desc, hybrid_error *why = NULL)
    {
        hybrid_adapter *made = NULL;
        const hybrid_result result = hybrid_adapter_create(of.get(), &desc, &made, why);
        return took(result, made);
    }
    hybrid_result load(const model &of, const hybrid_source &source, hybrid_error *why = NULL)
    {
        hybrid_adapter *made = NULL;
        const hybrid_result result = hybrid_adapter_load(of.get(), &source, &made, why);
        return took(result, made);
    }
    hybrid_result load(const model &of, const char *path, hybrid_error *why = NULL)
    {
        hybrid_source source = hybrid_source();
        source.path = path;
        return load(of, source, why);
    }
    hybrid_result save(const char *path, hybrid_type type, hybrid_error *why = NULL) const
    {
        return hybrid_adapter_save(get(), path, type, why);
    }
    hybrid_result set_type(hybrid_type type, hybrid_error *why = NULL)
    {
        return hybrid_adapter_set_type(get(), type, why);
    }
    hybrid_adapter_info describe() const
    {
        hybrid_adapter_info info = hybrid_adapter_info();
        hybrid_adapter_describe(get(), &info);
        return info;
    }
};

class context : public handle<hybrid_context, hybrid_context_destroy> {
public:
    hybrid_result create(const model &of, const hybrid_context_desc &desc, hybrid_error *why = NULL)
    {
        hybrid_context *made = NULL;
        const hybrid_result result = hybrid_context_create(of.get(), &desc, &made, why);
        return took(result, made);
    }
    hybrid_context_desc describe() const
    {
        hybrid_context_desc desc = hybrid_context_desc();
        hybrid_context_describe(get(), &desc);
        return desc;
    }
    hybrid_result warmup(hybrid_progress_fn progress = NULL, void *user = NULL, hybrid_error *why = NULL)
    {
        return hybrid_warmup(get(), progress, user, why);
    }
    hybrid_result add(int32_t seq, const int32_t *ids, size_t n, hybrid_error *why = NULL)
    {
        return hybrid_batch_add(get(), seq, ids, n, why);
    }
    hybrid_result add(int32_t seq, const std::vector<int32_t> &ids, hybrid_error *why = NULL)
    {
        return add(seq, ids.data(), ids.size(), why);
    }
    hybrid_result add_logits(int32_t seq, const int32_t *ids, size_t n, int32_t n_logits, hybrid_error *why = NULL)
    {
        return hybrid_batch_add_logits(get(), seq, ids, n, n_logits, why);
    }
    void clear() { hybrid_batch_clear(get()); }
    hybrid_result decode(hybrid_error *why = NULL) { return hybrid_decode(get(), why); }
    hybrid_result step(uint64_t budget_us, bool *done, hybrid_error *why = NULL)
    {
        return hybrid_decode_step(get(), budget_us, done, why);
    }
    const float *logits(int32_t seq) { return hybrid_logits(get(), seq); }
    const float *logits(int32_t seq, int32_t i) { return hybrid_logits_at(get(), seq, i); }
    int32_t length(int32_t seq) const { return hybrid_seq_length(get(), seq); }
    hybrid_result remove(int32_t seq, int32_t from, hybrid_error *why = NULL)
    {
        return hybrid_seq_remove(get(), seq, from, why);
    }
    int32_t back(int32_t seq, int32_t from) const { return hybrid_seq_back(get(), seq, from); }
    hybrid_result fork(int32_t from, int32_t to, hybrid_error *why = NULL)
    {
        return hybrid_seq_fork(get(), from, to, why);
    }
    hybrid_result set_adapters(int32_t seq, hybrid_adapter *const *adapters, const float *scales, size_t n,
                               hybrid_error *why = NULL)
    {
        return hybrid_seq_set_adapters(get(), seq, adapters, scales, n, why);
    }
    int32_t room() const { return hybrid_context_room(get()); }
    std::string profile() const
    {
        std::string text(hybrid_context_profile(get(), NULL, 0) + 1, '\0');
        text.resize(hybrid_context_profile(get(), &text[0], text.size()));
        return text;
    }
    void profile_reset() { hybrid_context_profile_reset(get()); }
    hybrid_result save(int32_t seq, const hybrid_save_desc &desc, const hybrid_target &to, hybrid_error *why = NULL)
    {
        return hybrid_seq_save(get(), seq, &desc, &to, why);
    }
    uint64_t save_size(int32_t seq, const hybrid_save_desc &desc) const
    {
        return hybrid_seq_save_size(get(), seq, &desc);
    }
    hybrid_result load(int32_t seq, const hybrid_save_desc &desc, const hybrid_source &from, hybrid_error *why = NULL)
    {
        return hybrid_seq_load(get(), seq, &desc, &from, why);
    }
#ifndef HYBRID_NO_TEXT
    hybrid_result score(const hybrid_score_desc &desc, hybrid_score_info *scores, hybrid_error *why = NULL)
    {
        return hybrid_score(get(), &desc, scores, why);
    }
#endif
};

class sampler : public handle<hybrid_sampler, hybrid_sampler_destroy> {
public:
    hybrid_result create(const hybrid_sampler_desc &desc, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        hybrid_sampler *made = NULL;
        const hybrid_result result = hybrid_sampler_create(runtime, &desc, &made, why);
        return took(result, made);
    }
    int32_t sample(const float *logits, int32_t n_vocab) { return hybrid_sample(get(), logits, n_vocab); }
    int32_t sample(const context &from, int32_t seq, hybrid_error *why = NULL)
    {
        return hybrid_sample_next(get(), from.get(), seq, why);
    }
    hybrid_result result(hybrid_error *why = NULL) const { return hybrid_sampler_result(get(), why); }
    static int32_t candidates(const hybrid_sampler_desc &desc) { return hybrid_sampler_candidates(&desc); }
    void set_mask(const uint32_t *mask, size_t n_words) { hybrid_sampler_set_mask(get(), mask, n_words); }
    void accept(int32_t id) { hybrid_sampler_accept(get(), id); }
    void restart() { hybrid_sampler_reset(get()); }
};

#ifndef HYBRID_NO_TEXT
/* What a tokenizer can do, whether it is one of its own or a model's (text_of(model.tokenizer())). */
class text_of {
public:
    explicit text_of(const hybrid_tokenizer *of) : tok(of) {}
    /* *ids becomes the text's. */
    hybrid_result tokenize(const std::string &text, unsigned flags, std::vector<int32_t> *ids,
                           hybrid_error *why = NULL) const
    {
        size_t n = 0;
        hybrid_tokenize(tok, text.data(), text.size(), flags, NULL, 0, &n, NULL); /* LIMIT, and how many there are */
        ids->resize(n);
        return hybrid_tokenize(tok, text.data(), text.size(), flags, ids->data(), n, &n, why);
    }
    hybrid_result tokenize_spans(const std::string &text, const std::vector<hybrid_span> &spans, unsigned flags,
                                 std::vector<int32_t> *ids, hybrid_error *why = NULL) const
    {
        size_t n = 0;
        hybrid_tokenize_spans(tok, text.data(), text.size(), spans.data(), spans.size(), flags, NULL, 0, &n, NULL);
        ids->resize(n);
        return hybrid_tokenize_spans(tok, text.data(), text.size(), spans.data(), spans.size(), flags, ids->data(), n,
                                     &n, why);
    }
    hybrid_result detokenize(const std::vector<int32_t> &ids, unsigned flags, std::string *text,
                             hybrid_error *why = NULL) const
    {
        size_t n = 0;
        hybrid_result r;
        hybrid_detokenize(tok, ids.data(), ids.size(), flags, NULL, 0, &n, NULL);
        text->resize(n + 1);
        r = hybrid_detokenize(tok, ids.data(), ids.size(), flags, &(*text)[0], n + 1, &n, why);
        text->resize(r ? 0 : n);
        return r;
    }
    hybrid_string bytes(int32_t id) const { return hybrid_token_bytes(tok, id); }
    hybrid_token_type kind(int32_t id) const { return hybrid_token_kind(tok, id); }
    bool is_end(int32_t id) const { return hybrid_token_is_end(tok, id); }
    int32_t role_id(hybrid_token_role role) const { return hybrid_token_role_id(tok, role); }
    int32_t find(const std::string &token) const { return hybrid_token_find(tok, token.data(), token.size()); }
    int32_t size() const { return hybrid_vocab_size(tok); }
    bool adds_bos() const { return hybrid_tokenizer_adds_bos(tok); }
    bool adds_eos() const { return hybrid_tokenizer_adds_eos(tok); }
    std::vector<int32_t> with(const std::vector<const char *> &texts) const
    {
        std::vector<int32_t> ids(hybrid_tokens_with(tok, texts.data(), texts.size(), NULL, 0));
        hybrid_tokens_with(tok, texts.data(), texts.size(), ids.data(), ids.size());
        return ids;
    }

private:
    const hybrid_tokenizer *tok;
};

class tokenizer : public handle<hybrid_tokenizer, hybrid_tokenizer_destroy> {
public:
    hybrid_result create(const hybrid_tokenizer_desc &desc, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        hybrid_tokenizer *made = NULL;
        const hybrid_result result = hybrid_tokenizer_create(runtime, &desc, &made, why);
        return took(result, made);
    }
    hybrid_result create(const hybrid_gguf *gguf, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        hybrid_tokenizer *made = NULL;
        const hybrid_result result = hybrid_tokenizer_from_gguf(runtime, gguf, &made, why);
        return took(result, made);
    }
    text_of text() const { return text_of(get()); }
};

    #ifndef HYBRID_NO_GRAMMAR
class grammar : public handle<hybrid_grammar, hybrid_grammar_destroy> {
public:
    hybrid_result create(const hybrid_grammar_desc &desc, hybrid_error *why = NULL, hybrid_runtime *runtime = NULL)
    {
        hybrid_grammar *made = NULL;
        const hybrid_result result = hybrid_grammar_create(runtime, &desc, &made, why);
        return took(result, made);
    }
    hybrid_result gbnf(const char *rules, hybrid_error *why = NULL)
    {
        hybrid_grammar_desc desc = hybrid_grammar_desc();
        desc.gbnf = rules;
        return create(desc, why);
    }
    hybrid_result schema(const char *json, hybrid_error *why = NULL)
    {
        hybrid_grammar_desc desc = hybrid_grammar_desc();
        desc.schema = json;
        return create(desc, why);
    }
};

class lexicon : public handle<hybrid_lexicon, hybrid_lexicon_destroy> {
public:
    hybrid_result create(const hybrid_tokenizer *of, hybrid_error *why = NULL)
    {
        hybrid_lexicon *made = NULL;
        const hybrid_result result = hybrid_lexicon_create(of, &made, why);
        return took(result, made);
    }
};

class matcher : public handle<hybrid_matcher, hybrid_matcher_destroy> {
public:
    hybrid_result create(const grammar &of, hybrid_error *why = NULL)
    {
        hybrid_matcher *made = NULL;
        const hybrid_result result = hybrid_matcher_create(of.get(), &made, why);
        return took(result, made);
    }
    hybrid_result accept(const std::string &text, hybrid_error *why = NULL)
    {
        return hybrid_matcher_accept(get(), text.data(), text.size(), why);
    }
    hybrid_result accept(const lexicon &words, int32_t id, hybrid_error *why = NULL)
    {
        return hybrid_matcher_accept_token(get(), words.get(), id, why);
    }
    bool can_end() const { return hybrid_matcher_can_end(get()); }
    /* As much as is forced, at most 4096 bytes. */
    std::string forced()
    {
        char text[4096];
        return std::string(text, hybrid_matcher_forced(get(), text, sizeof text));
    }
    hybrid_result mask(const lexicon &words, const uint32_t **mask, size_t *n_words, hybrid_error *why = NULL)
    {
        return hybrid_matcher_mask(get(), words.get(), mask, n_words, why);
    }
    void restart() { hybrid_matcher_reset(get()); }
};
    #endif

/* Token ids that hybrid makes. */
class ids {
public:
    ids() : list(hybrid_ids()) {}
    ~ids() { hybrid_ids_free(&list); }
    hybrid_result prompt(const model &of, const hybrid_prompt_desc &desc, hybrid_error *why = NULL)
    {
        return hybrid_prompt(of.get(), &desc, &list, why);
    }
    const int32_t *data() const { return list.data; }
    size_t size() const { return list.n; }

private:
    ids(const ids &);
    ids &operator=(const ids &);
    hybrid_ids list;
};

class stream : public handle<hybrid_stream, hybrid_stream_destroy> {
public:
    hybrid_result create(const context &over, const hybrid_stream_desc &desc, hybrid_error *why = NULL)
    {
        hybrid_stream *made = NULL;
        const hybrid_result result = hybrid_stream_create(over.get(), &desc, &made, why);
        return took(result, made);
    }
    hybrid_result begin(const int32_t *tokens, size_t n, hybrid_error *why = NULL)
    {
        return hybrid_stream_begin(get(), tokens, n, why);
    }
    hybrid_result begin(const ids &tokens, hybrid_error *why = NULL)
    {
        return begin(tokens.data(), tokens.size(), why);
    }
    hybrid_result next(hybrid_piece *piece, hybrid_error *why = NULL) { return hybrid_stream_next(get(), piece, why); }
    hybrid_result step(uint64_t budget_us, hybrid_piece *piece, hybrid_error *why = NULL)
    {
        return hybrid_stream_step(get(), budget_us, piece, why);
    }
    void stop() { hybrid_stream_stop(get()); }
    hybrid_result set_sampler(const hybrid_sampler_desc *desc, int32_t max_tokens, hybrid_error *why = NULL)
    {
        return hybrid_stream_set_sampler(get(), desc, max_tokens, why);
    }
    const int32_t *tokens(size_t *n) const { return hybrid_stream_ids(get(), n); }
    hybrid_stream_info describe() const
    {
        hybrid_stream_info info = hybrid_stream_info();
        hybrid_stream_describe(get(), &info);
        return info;
    }
    #ifndef HYBRID_NO_GRAMMAR
    hybrid_result set_grammar(const grammar &form, hybrid_error *why = NULL)
    {
        return hybrid_stream_set_grammar(get(), form.get(), why);
    }
    #endif
};

class session : public handle<hybrid_session, hybrid_session_destroy> {
public:
    hybrid_result create(const model &of, const hybrid_session_desc &desc, hybrid_error *why = NULL)
    {
        hybrid_session *made = NULL;
        const hybrid_result result = hybrid_session_create(of.get(), &desc, &made, why);
        return took(result, made);
    }
    hybrid_result say(const char *text) { return hybrid_session_say(get(), text); }
    hybrid_result complete(const char *text) { return hybrid_session_complete(get(), text); }
    hybrid_result answer(const char *text, const hybrid_answer_desc &how)
    {
        return hybrid_session_answer(get(), text, &how);
    }
    const char *next() { return hybrid_session_next(get()); }
    hybrid_result step(uint64_t budget_us, hybrid_piece *piece) { return hybrid_session_step(get(), budget_us, piece); }
    void stop() { hybrid_session_stop(get()); }
    hybrid_result result(hybrid_error *why = NULL) const { return hybrid_session_result(get(), why); }
    hybrid_session_info describe() const
    {
        hybrid_session_info info = hybrid_session_info();
        hybrid_session_describe(get(), &info);
        return info;
    }
    void *user() const { return hybrid_session_user(get()); }
    size_t count() const { return hybrid_session_count(get()); }
    hybrid_chat_message message(size_t i) const { return hybrid_session_message(get(), i); }
    hybrid_result add(const char *role, const char *text) { return hybrid_session_add(get(), role, text); }
    hybrid_result edit(size_t i, const char *text) { return hybrid_session_edit(get(), i, text); }
    hybrid_result cut(size_t n) { return hybrid_session_cut(get(), n); }
    #ifndef HYBRID_NO_GRAMMAR
    hybrid_result set_grammar(const grammar &form, hybrid_error *why = NULL)
    {
        return hybrid_session_set_grammar(get(), form.get(), why);
    }
    hybrid_result say_json(const char *text, const char *schema)
    {
        return hybrid_session_say_json(get(), text, schema);
    }
    #endif
    hybrid_result set_adapters(hybrid_adapter *const *adapters, const float *scales, size_t n, hybrid_error *why = NULL)
    {
        return hybrid_session_set_adapters(get(), adapters, scales, n, why);
    }
    hybrid_result save(const hybrid_save_desc &desc, const hybrid_target &to, hybrid_error *why = NULL)
    {
        return hybrid_session_save(get(), &desc, &to, why);
    }
    uint64_t save_size(const hybrid_save_desc &desc) const { return hybrid_session_save_size(get(), &desc); }
    hybrid_result load(const hybrid_save_desc &desc, const hybrid_source &from, hybrid_error *why = NULL)
    {
        return hybrid_session_load(get(), &desc, &from, why);
    }
    void restart() { hybrid_session_reset(get()); }
};
#endif

} /* namespace hybrid */
#endif
