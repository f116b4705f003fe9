/* generate: continues a text with a GGUF model, streaming.
 *
 *     cc -O2 generate.c -o generate -lm                  (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./generate model.gguf "Once upon a time"
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
#include <time.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] =
    "generate: continues a text with a GGUF model\n"
    "\n"
    "usage: generate MODEL.gguf [TEXT] [options]\n"
    "\n"
    "  TEXT                  what to continue (default: \"Once upon a time\"); - reads standard input\n"
    "  -n, --tokens N        stop after N tokens (default 256; 0: when the model does, or the context is full)\n"
    "  -t, --temperature X   0 (default): always the likeliest token; 0.8 is lively\n"
    "      --top-k N         choose among the N likeliest only (default: all)\n"
    "      --top-p X         choose among the likeliest that sum to X (default 1: all)\n"
    "      --min-p X         leave out what is less than X times as likely as the best (default 0)\n"
    "      --repeat X        penalty for repeated tokens (default 1: none; 1.1 is usual)\n"
    "  -s, --seed N          for other choices at the same temperature (default 0)\n"
    "  -c, --context N       positions of the context (default: the model's, at most 4096)\n"
    "      --kv f16|q8_0     type of the cache (default f16; q8_0 takes half the memory)\n"
    "  -j, --threads N       threads (default: all cores, at most 16)\n"
    "      --device D        auto (default: a GPU when there is one), cpu, cuda, cuda:1... (needs hybrid_cuda.h)\n"
    "      --vram SIZE       GPU memory that may be used, like 4G or 800M (default: what is free)\n"
    "  -q, --quiet           no figures\n";

typedef struct options {
    const char *model, *text;
    hybrid_runtime_desc runtime;
    hybrid_session_desc session;
    int quiet;
} options;

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "generate: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return 1;
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= -2e9 && x <= 2e9) return x;
    fprintf(stderr, "generate: %s takes a number, not '%s'\n", option, text);
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

static int parse(int argc, char **argv, options *o)
{
    int i;
    o->session.max_tokens = 256;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
        if (IS("-h", "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (IS("-q", "--quiet")) {
            o->quiet = 1;
            continue;
        }
        if (a[0] != '-' || !a[1]) {
            if (!o->model)
                o->model = a;
            else if (!o->text)
                o->text = a;
            else
                return fail("one text only; put it in quotes", a);
            continue;
        }
        if (!v) return fail("this option needs a value, or does not exist (see --help)", a);
        if (IS("-n", "--tokens"))
            o->session.max_tokens = (int)number(a, v);
        else if (IS("-t", "--temperature"))
            o->session.sampler.temperature = (float)number(a, v);
        else if (IS("--top-k", "--top-k"))
            o->session.sampler.top_k = (int)number(a, v);
        else if (IS("--top-p", "--top-p"))
            o->session.sampler.top_p = (float)number(a, v);
        else if (IS("--min-p", "--min-p"))
            o->session.sampler.min_p = (float)number(a, v);
        else if (IS("--repeat", "--repeat"))
            o->session.sampler.repetition_penalty = (float)number(a, v);
        else if (IS("-s", "--seed"))
            o->session.sampler.seed = strtoull(v, NULL, 10);
        else if (IS("-c", "--context"))
            o->session.context.n_ctx = (int)number(a, v);
        else if (IS("--kv", "--kv") && (!strcmp(v, "f16") || !strcmp(v, "q8_0")))
            o->session.context.kv = *v == 'q' ? HYBRID_KV_Q8_0 : HYBRID_KV_F16;
        else if (IS("-j", "--threads"))
            o->runtime.n_threads = (int)number(a, v);
        else if (IS("--device", "--device"))
            o->runtime.device = v;
        else if (IS("--vram", "--vram"))
            o->runtime.max_device_bytes = size_of(v);
        else
            return fail("unknown option or value (see --help)", a);
#undef IS
        i++;
    }
    if (!o->model) {
        fputs(usage, stderr);
        return 1;
    }
    if (!o->text) o->text = "Once upon a time";
    return 0;
}

static char *read_all(FILE *f)
{
    size_t n = 0, room = 4096;
    char *p = (char *)malloc(room);
    while (p) {
        n += fread(p + n, 1, room - n - 1, f);
        if (n < room - 1) {
            p[n] = 0;
            return p;
        }
        p = (char *)realloc(p, room *= 2);
    }
    return NULL;
}

/* Reading from a slow disk, or into a GPU, can take a while: shown from the second second on. */
typedef struct loading {
    time_t since;
    int shown;
} loading;
static bool progress(void *user, float fraction)
{
    loading *l = (loading *)user;
    int percent = (int)(100 * fraction);
    if (!l->since) l->since = time(NULL);
    if (percent < 100 && percent != l->shown && time(NULL) - l->since > 1)
        fprintf(stderr, "\rloading %d %%", l->shown = percent);
    if (percent == 100 && l->shown) fprintf(stderr, "\r              \r");
    return true;
}

int main(int argc, char **argv)
{
    options o;
    hybrid_error err;
    hybrid_runtime *rt = NULL;
    hybrid_model_desc md;
    hybrid_model *model = NULL;
    hybrid_session *session = NULL;
    hybrid_session_info info;
    hybrid_model_info about;
    const char *piece;
    char *input = NULL;
    loading bar;
    int failed = 1;
    memset(&bar, 0, sizeof bar);
    memset(&o, 0, sizeof o);
    memset(&md, 0, sizeof md);
    if (parse(argc, argv, &o)) return 1;
    if (!strcmp(o.text, "-") && !(o.text = input = read_all(stdin))) return fail("cannot read standard input", NULL);
    md.path = o.model;
    md.progress = progress;
    md.progress_user = &bar;
    if (hybrid_runtime_create(&o.runtime, &rt, &err) || hybrid_model_load(rt, &md, &model, &err) ||
        hybrid_session_create(model, &o.session, &session, &err)) {
        fail(err.message, NULL);
        goto end;
    }
    hybrid_model_describe(model, &about);
    if (!o.quiet) print_device(stderr, rt, &about);
    if (!o.quiet) printf("%s", o.text);
    fflush(stdout);
    if (!hybrid_session_complete(session, o.text))
        while ((piece = hybrid_session_next(session)) != NULL) {
            fputs(piece, stdout);
            fflush(stdout);
        }
    putchar('\n');
    if (hybrid_session_result(session, &err)) {
        fail(err.message, NULL);
        goto end;
    }
    hybrid_session_describe(session, &info);
    if (!o.quiet)
        fprintf(stderr, "\n[%d tokens read at %.1f tokens/s, %d written at %.1f tokens/s; %s, %d threads%s]\n",
                info.n_prompt, 1e6 * info.n_prompt / (double)(info.prompt_us + 1), info.n_generated,
                1e6 * (info.n_generated > 1 ? info.n_generated - 1 : 0) / (double)(info.generate_us + 1),
                hybrid_runtime_isa(rt), hybrid_runtime_threads(rt),
                info.stop == HYBRID_STOP_CONTEXT ? "; the context is full"
                : info.stop == HYBRID_STOP_LIMIT ? "; stopped by --tokens"
                                                 : "");
    failed = 0;
end:
    hybrid_session_destroy(session);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    free(input);
    return failed;
}
