/* stories: one beginning, several stories: sequences of one batch, each with a sampler of its own. C++11, and the
 * middle height of the interface: model, context, batch, sampler.
 *
 *     c++ -O2 stories.cpp -o stories -lm                     (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./stories model.gguf "Once upon a time"
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#if defined(__has_include)
    #if __has_include("hybrid_cuda.h")
        #include "hybrid_cuda.h" /* the GPU, when the header lies beside */
    #endif
#endif
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] = "stories: one beginning, several stories, written in one batch\n"
                            "\n"
                            "usage: stories MODEL.gguf [TEXT] [N]\n"
                            "\n"
                            "  TEXT   how they begin (default: \"Once upon a time\")\n"
                            "  N      how many (default 3)\n";

struct ends {
    void operator()(hybrid_model *m) const { hybrid_model_destroy(m); }
    void operator()(hybrid_context *c) const { hybrid_context_destroy(c); }
    void operator()(hybrid_sampler *s) const { hybrid_sampler_destroy(s); }
};
template <typename T> using handle = std::unique_ptr<T, ends>;

/* Makes a handle, or throws the sentence that says why there is none. */
template <typename T, typename Make> static handle<T> made(Make make)
{
    hybrid_error error;
    T *it = nullptr;
    if (make(&it, &error)) throw std::runtime_error(error.message);
    return handle<T>(it);
}

struct story {
    handle<hybrid_sampler> sampler;
    hybrid_utf8_stream utf8 = hybrid_utf8_stream(); /* a token can end inside a character */
    std::string text;
    bool told = false;

    void add(hybrid_string bytes)
    {
        std::vector<char> out(HYBRID_UTF8_ROOM(bytes.size));
        text.append(out.data(), hybrid_utf8_feed(&utf8, bytes.data, bytes.size, out.data()));
    }
};

static std::vector<int32_t> tokens_of(const hybrid_tokenizer *tokenizer, const std::string &text)
{
    hybrid_error error;
    std::vector<int32_t> ids(3 * text.size() + 3);
    size_t n = 0;
    if (hybrid_tokenize(tokenizer, text.data(), text.size(), HYBRID_TOKENIZE_ADD_SPECIAL, ids.data(), ids.size(), &n,
                        &error))
        throw std::runtime_error(error.message);
    ids.resize(n);
    return ids;
}

/* The beginning is read once, by sequence 0; the others are forks of it, which share its part of the cache. */
static void begin(hybrid_context *context, const std::vector<int32_t> &ids, int32_t n)
{
    hybrid_error error;
    if (hybrid_batch_add(context, 0, ids.data(), ids.size() - 1, &error) || hybrid_decode(context, &error))
        throw std::runtime_error(error.message);
    for (int32_t seq = 1; seq < n; seq++)
        if (hybrid_seq_fork(context, 0, seq, &error)) throw std::runtime_error(error.message);
    for (int32_t seq = 0; seq < n; seq++)
        if (hybrid_batch_add(context, seq, &ids.back(), 1, &error)) throw std::runtime_error(error.message);
}

/* One decode for all stories, then a token for each that goes on. False: all are told. */
static bool step(hybrid_context *context, const hybrid_tokenizer *tokenizer, std::vector<story> &stories)
{
    hybrid_error error;
    bool any = false;
    if (hybrid_decode(context, &error)) throw std::runtime_error(error.message);
    for (size_t i = 0; i < stories.size(); i++) {
        story &s = stories[i];
        if (s.told) continue;
        const int32_t id = hybrid_sample_next(s.sampler.get(), context, static_cast<int32_t>(i), &error);
        if (id < 0) throw std::runtime_error(error.message);
        s.told = hybrid_token_is_end(tokenizer, id);
        if (s.told) continue;
        hybrid_sampler_accept(s.sampler.get(), id);
        if (hybrid_token_kind(tokenizer, id) != HYBRID_TOKEN_CONTROL) s.add(hybrid_token_bytes(tokenizer, id));
        if (hybrid_batch_add(context, static_cast<int32_t>(i), &id, 1, &error)) throw std::runtime_error(error.message);
        any = true;
    }
    return any;
}

static void tell(const char *path, const std::string &beginning, int32_t n)
{
    const int32_t length = 100;
    hybrid_model_desc from{};
    from.path = path;
    const handle<hybrid_model> model =
        made<hybrid_model>([&](hybrid_model **m, hybrid_error *e) { return hybrid_model_load(nullptr, &from, m, e); });
    const hybrid_tokenizer *tokenizer = hybrid_model_tokenizer(model.get());
    const std::vector<int32_t> ids = tokens_of(tokenizer, beginning);
    if (ids.size() < 2) throw std::runtime_error("the beginning is too short: give some words");

    hybrid_sampler_desc taste{};
    taste.temperature = 0.8f;
    taste.top_k = 40;
    taste.top_p = 0.95f;
    hybrid_context_desc room{};
    room.n_seq = n;
    room.n_ctx = n * (static_cast<int32_t>(ids.size()) + length + 32);
    room.n_candidates = hybrid_sampler_candidates(&taste);
    const handle<hybrid_context> context = made<hybrid_context>(
        [&](hybrid_context **c, hybrid_error *e) { return hybrid_context_create(model.get(), &room, c, e); });

    std::vector<story> stories(static_cast<size_t>(n));
    for (story &s : stories) {
        s.sampler = made<hybrid_sampler>(
            [&](hybrid_sampler **p, hybrid_error *e) { return hybrid_sampler_create(nullptr, &taste, p, e); });
        taste.seed++;
    }
    begin(context.get(), ids, n);
    for (int32_t i = 0; i < length && step(context.get(), tokenizer, stories); i++) {}
    for (const story &s : stories) std::cout << beginning << s.text << "\n\n";
}

int main(int argc, char **argv)
{
    const int n = argc > 3 ? std::atoi(argv[3]) : 3;
    if (argc < 2 || argc > 4 || n < 1 || n > 1000 || !std::strcmp(argv[1], "--help") || !std::strcmp(argv[1], "-h")) {
        std::cout << usage;
        return argc == 2 && argv[1][0] == '-' ? 0 : 2;
    }
    try {
        tell(argv[1], argc > 2 ? argv[2] : "Once upon a time", n);
    } catch (const std::exception &e) {
        std::cerr << "stories: " << e.what() << "\n";
        return 1;
    }
    return 0;
}
