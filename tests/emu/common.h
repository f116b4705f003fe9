/* Shared by the three stand-in libraries: environment switches and failures injected at call N. */
#ifndef EMU_COMMON_H
#define EMU_COMMON_H
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#define EMU_API extern "C" __attribute__((visibility("default")))

static inline long emu_env(const char *name, long otherwise)
{
    const char *s = getenv(name);
    return s && *s ? strtol(s, nullptr, 0) : otherwise;
}

/* EMU_FAIL="name:N[+][:code],…": call N (and later ones with +) of function `name` fails with `code`.
   Names come without a _v2 suffix. The variable is read at each call, so that a test may change it; counts run on
   from the start of the process, or from the last change of the variable. */
static inline int emu_injected(const char *function, int otherwise)
{
    static std::mutex lock;
    static std::map<std::string, long> calls;
    static std::string seen;
    const char *env = getenv("EMU_FAIL");
    if (!env || !*env) return 0;
    std::lock_guard<std::mutex> hold(lock);
    if (seen != env) {
        seen = env;
        calls.clear();
    }
    std::string name(function);
    size_t n = name.size();
    if (n > 3 && name[n - 3] == '_' && name[n - 2] == 'v') name.resize(n - 3);
    long call = ++calls[name];
    for (const char *s = env; *s;) {
        const char *end = strchr(s, ','), *colon = strchr(s, ':');
        if (!end) end = s + strlen(s);
        if (colon && colon < end && name == std::string(s, colon)) {
            char *rest;
            long at = strtol(colon + 1, &rest, 10);
            bool later = *rest == '+';
            if (later) rest++;
            if (call == at || (later && call > at))
                return *rest == ':' ? (int)strtol(rest + 1, nullptr, 10) : otherwise;
        }
        s = *end ? end + 1 : end;
    }
    return 0;
}
#endif
