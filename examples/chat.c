/* chat: a conversation with a GGUF model in the terminal.
 *
 *     cc -O2 chat.c -o chat -lm                          (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./chat model.gguf
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#if defined(__has_include)
    #if __has_include("hybrid_cuda.h")
        #include "hybrid_cuda.h" /* the GPU, when the header lies beside */
    #endif
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] =
    "chat: a conversation with a GGUF model\n"
    "\n"
    "usage: chat MODEL.gguf [options]\n"
    "\n"
    "  --system TEXT         system prompt (default: none)\n"
    "  -n, --tokens N        tokens an answer may have (default 512)\n"
    "  -t, --temperature X   0: always the likeliest token (default 0.7)\n"
    "      --top-p X         choose among the likeliest that sum to X (default 0.95)\n"
    "      --repeat X        penalty for repeated tokens (default 1.05)\n"
    "  -s, --seed N          for other answers (default 0)\n"
    "  -c, --context N       positions of the context (default: the model's, at most 4096)\n"
    "  -j, --threads N       threads (default: all cores, at most 16)\n"
    "      --device D        auto (default: a GPU when there is one), cpu, cuda, cuda:1... (needs hybrid_cuda.h)\n"
    "      --vram SIZE       GPU memory that may be used, like 4G or 800M (default: what is free)\n"
    "  -v, --verbose         tokens and speed after every answer\n"
    "\n"
    "In the conversation: /reset forgets it, /stats shows figures, /quit or end of input leaves.\n";

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "chat: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return 1;
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= -2e9 && x <= 2e9) return x;
    fprintf(stderr, "chat: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

/* "4G", "800M" -> bytes */
static uint64_t size_of(const char *text)
{
    char *end;
    double n = strtod(text, &end);
    return (uint64_t)(n * (*end == 'G' || *end == 'g' ? 1073741824.0 : *end == 'M' || *end == 'm' ? 1048576.0 : 1));
}

/* One line: "NVIDIA H100, 24/24 layers, 0.6 GB", or why there is no GPU. */
static void print_device(FILE *to, hybrid_runtime *rt, const hybrid_model_info *info)
{
#ifdef HYBRID_CUDA_H
    hybrid_error why;
    size_t n;
    if (info->device[0])
        fprintf(to, "%s, %d/%d layers, %.1f GB\n", info->device, info->n_layer_device, info->n_layer,
                (double)info->device_bytes / 1e9);
    else if (!hybrid_devices(rt, NULL, 0, &n, &why) && !n)
        fprintf(to, "on the CPU: %s\n", why.message);
#else
    (void)to;
    (void)rt;
    (void)info;
#endif
}

static void print_stats(hybrid_session *session)
{
    hybrid_session_info i;
    hybrid_session_describe(session, &i);
    printf("[%d tokens read (%d of them known) at %.1f tokens/s, %d written at %.1f tokens/s; %d of %d positions used",
           i.n_prompt, i.n_cached, 1e6 * (i.n_prompt - i.n_cached) / (double)(i.prompt_us + 1), i.n_generated,
           1e6 * (i.n_generated > 1 ? i.n_generated - 1 : 0) / (double)(i.generate_us + 1), i.n_used, i.n_ctx);
    if (i.n_forgotten) printf("; the first %d messages are forgotten", i.n_forgotten);
    printf("]\n");
}

static int talk(hybrid_session *session, int verbose)
{
    static char line[65536];
    hybrid_error err;
    hybrid_session_info info;
    const char *piece;
    size_t n;
    for (;;) {
        printf("\n> ");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) break;
        n = strlen(line);
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (!n) continue;
        if (!strcmp(line, "/quit")) break;
        if (!strcmp(line, "/stats")) {
            print_stats(session);
            continue;
        }
        if (!strcmp(line, "/reset")) {
            hybrid_session_reset(session);
            puts("[forgotten]");
            continue;
        }
        if (!hybrid_session_say(session, line))
            while ((piece = hybrid_session_next(session)) != NULL) {
                fputs(piece, stdout);
                fflush(stdout);
            }
        putchar('\n');
        if (hybrid_session_result(session, &err)) fail(err.message, NULL);
        hybrid_session_describe(session, &info);
        if (info.stop == HYBRID_STOP_LIMIT) puts("[cut off by --tokens]");
        if (info.stop == HYBRID_STOP_CONTEXT) puts("[the context is full]");
        if (verbose) print_stats(session);
    }
    putchar('\n');
    return 0;
}

int main(int argc, char **argv)
{
    hybrid_error err;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_session_desc sd;
    hybrid_runtime *rt = NULL;
    hybrid_model *model = NULL;
    hybrid_session *session = NULL;
    hybrid_model_info info;
    int i, verbose = 0, failed = 1;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&sd, 0, sizeof sd);
    sd.max_tokens = 512;
    sd.sampler.temperature = 0.7f;
    sd.sampler.top_p = 0.95f;
    sd.sampler.repetition_penalty = 1.05f;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
        if (IS("-h", "--help")) {
            fputs(usage, stdout);
            return 0;
        }
        if (IS("-v", "--verbose")) {
            verbose = 1;
            continue;
        }
        if (a[0] != '-') {
            if (md.path) return fail("one model only", a);
            md.path = a;
            continue;
        }
        if (!v) return fail("this option needs a value, or does not exist (see --help)", a);
        if (IS("--system", "--system"))
            sd.system = v;
        else if (IS("-n", "--tokens"))
            sd.max_tokens = (int)number(a, v);
        else if (IS("-t", "--temperature"))
            sd.sampler.temperature = (float)number(a, v);
        else if (IS("--top-p", "--top-p"))
            sd.sampler.top_p = (float)number(a, v);
        else if (IS("--repeat", "--repeat"))
            sd.sampler.repetition_penalty = (float)number(a, v);
        else if (IS("-s", "--seed"))
            sd.sampler.seed = strtoull(v, NULL, 10);
        else if (IS("-c", "--context"))
            sd.context.n_ctx = (int)number(a, v);
        else if (IS("-j", "--threads"))
            rd.n_threads = (int)number(a, v);
        else if (IS("--device", "--device"))
            rd.device = v;
        else if (IS("--vram", "--vram"))
            rd.max_device_bytes = size_of(v);
        else
            return fail("unknown option (see --help)", a);
#undef IS
        i++;
    }
    if (!md.path) {
        fputs(usage, stderr);
        return 1;
    }
    if (hybrid_runtime_create(&rd, &rt, &err) || hybrid_model_load(rt, &md, &model, &err) ||
        hybrid_session_create(model, &sd, &session, &err))
        fail(err.message, NULL);
    else {
        hybrid_model_describe(model, &info);
        printf("%s (%s, %.0f million parameters, %.0f MB) on %s with %d threads%s\n",
               info.name[0] ? info.name : md.path, info.architecture, (double)info.n_params / 1e6,
               (double)info.n_bytes / 1e6, hybrid_runtime_isa(rt), hybrid_runtime_threads(rt),
               info.has_template ? "" : "\n(it has no chat template: it may not be made for conversations)");
        print_device(stdout, rt, &info);
        failed = talk(session, verbose);
    }
    hybrid_session_destroy(session);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return failed;
}
