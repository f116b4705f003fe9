/* talk: a chat in the terminal that streams its answers, in C++.
 *
 *     c++ -O2 talk.cpp -o talk -lm                       (hybrid.h and hybrid.hpp beside it)
 *     ./talk model.gguf
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.hpp"
#include <cstring>
#include <iostream>

static int fail(const hybrid::error &why)
{
    std::cerr << "talk: " << why.message << "\n";
    return 1;
}

int main(int argc, char **argv)
{
    hybrid::model model;
    hybrid::session chat;
    hybrid::session_desc desc;
    hybrid::error why;
    std::string line;
    const bool help = argc == 2 && (!std::strcmp(argv[1], "--help") || !std::strcmp(argv[1], "-h"));
    if (argc != 2 || help) {
        (help ? std::cout : std::cerr) << "usage: talk MODEL.gguf    a chat: type, and end with Ctrl-D\n";
        return help ? 0 : 1;
    }
    desc.max_tokens = 200;
    desc.sampler.repetition_penalty = 1.1f;
    if (model.load(argv[1], &why) || chat.create(model, desc, &why)) return fail(why);
    while (std::cout << "> " << std::flush && std::getline(std::cin, line)) {
        if (chat.say(line.c_str())) {
            chat.result(&why);
            return fail(why);
        }
        while (const char *piece = chat.next()) std::cout << piece << std::flush;
        if (chat.result(&why)) return fail(why);
        std::cout << "\n";
    }
    return 0;
}
