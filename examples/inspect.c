/* inspect: what is in a GGUF file.
 *
 *     cc -O2 inspect.c -o inspect -lm                    (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./inspect model.gguf                               (of a model that was split: any part)
 *
 * A summary, the memory that running it takes, the types of the tensors, and every key; --tensors lists those too. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#if defined(__has_include)
    #if __has_include("hybrid_cuda.h")
        #include "hybrid_cuda.h" /* the plan for a GPU, when the header lies beside */
    #endif
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char *const HELP =
    "usage: inspect [options] FILE.gguf\n"
    "\n"
    "Prints what is in a GGUF file: the model, the memory that it needs, the types of its tensors with their\n"
    "bytes, and all keys.\n"
    "\n"
    "  --context N plan the memory for N tokens (default: the model's context, at most 4096)\n"
    "  --kv TYPE   and for a KV cache of f16 (default), q8_0 or f32\n"
    "  --tensors   every tensor too: type, size of each dimension (contiguous first), bytes, place in the file\n"
    "  --no-keys   without the keys\n"
    "  --help      this text\n";

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static void print_bytes(double n, int width)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;
    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    printf("%*.*f %*s", width, unit ? 1 : 0, n, width ? -3 : 0, units[unit]);
}

/* At most `most` characters of UTF-8; what could confuse a terminal is shown as an escape. */
static void print_text(hybrid_string s, size_t most)
{
    size_t i, shown = 0;
    for (i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if ((c & 0xC0) != 0x80 && ++shown > most) {
            printf("...");
            return;
        }
        if (c == '\n')
            printf("\\n");
        else if (c == '\t')
            printf("\\t");
        else if (c < 32 || c == 127)
            printf("\\x%02X", c);
        else if (c == 0xC2 && i + 1 < s.size && (unsigned char)s.data[i + 1] < 0xA0)
            printf("\\u00%02X", (unsigned char)s.data[++i]);
        else
            putchar(c);
    }
}

static void print_item(const hybrid_gguf_value *value, uint64_t i)
{
    hybrid_gguf_value item;
    switch (value->item_type) {
    case HYBRID_GGUF_STRING:
        putchar('"');
        print_text(hybrid_gguf_item_string(value, i), value->type == HYBRID_GGUF_ARRAY ? 20 : 70);
        putchar('"');
        break;
    case HYBRID_GGUF_F32:
    case HYBRID_GGUF_F64: printf("%.7g", hybrid_gguf_item_f64(value, i)); break;
    case HYBRID_GGUF_U64: printf("%.0f", hybrid_gguf_item_f64(value, i)); break;
    case HYBRID_GGUF_BOOL: printf("%s", hybrid_gguf_item_i64(value, i) ? "true" : "false"); break;
    case HYBRID_GGUF_ARRAY:
        if (hybrid_gguf_item_array(value, i, &item))
            printf("%s[%llu]", hybrid_gguf_type_name(item.item_type), (unsigned long long)item.count);
        break;
    default: printf("%lld", (long long)hybrid_gguf_item_i64(value, i)); break;
    }
}

static void print_key(const hybrid_gguf *file, size_t i)
{
    hybrid_gguf_value value;
    hybrid_string key = hybrid_gguf_key(file, i, &value);
    char type[48];
    uint64_t k;
    if (value.type != HYBRID_GGUF_ARRAY)
        snprintf(type, sizeof type, "%s", hybrid_gguf_type_name(value.type));
    else
        snprintf(type, sizeof type, "%s[%llu]", hybrid_gguf_type_name(value.item_type),
                 (unsigned long long)value.count);
    printf("  ");
    print_text(key, 60);
    printf("%*s %-16s ", key.size < 42 ? (int)(42 - key.size) : 0, "", type);
    for (k = 0; k < value.count && k < 6; k++) {
        printf("%s", k ? ", " : "");
        print_item(&value, k);
    }
    printf("%s\n", k < value.count ? ", ..." : "");
}

/* ---- types of tensors -------------------------------------------------------------------------------------------- */

/* Bytes of a tensor; of an unknown type what lies before the next tensor, padding included. */
static uint64_t tensor_bytes(const hybrid_gguf *file, size_t i)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(file, i), *next = hybrid_gguf_tensor_at(file, i + 1);
    uint64_t end = next && next->part == t->part ? next->offset : hybrid_gguf_part_size(file, t->part);
    if (t->type != HYBRID_TYPE_LAST_) return t->size;
    return end > t->offset ? end - t->offset : 0;
}

static double tensor_values(const hybrid_gguf_tensor *t)
{
    return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

static void print_types(const hybrid_gguf *file)
{
    enum { MOST = 64 };
    struct {
        uint32_t id;
        const hybrid_gguf_tensor *first;
        size_t count;
        double bytes, values;
    } row[MOST];
    size_t n_rows = 0, i, k, n = hybrid_gguf_tensor_count(file);
    double all = 0;
    bool unknown = false;
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(file, i);
        for (k = 0; k < n_rows && row[k].id != t->type_id; k++) {}
        if (k == MOST) continue;
        if (k == n_rows) {
            n_rows++;
            row[k].id = t->type_id;
            row[k].first = t;
            row[k].count = 0;
            row[k].bytes = row[k].values = 0;
        }
        row[k].count++;
        row[k].bytes += (double)tensor_bytes(file, i);
        row[k].values += tensor_values(t);
        all += (double)tensor_bytes(file, i);
        unknown = unknown || t->type == HYBRID_TYPE_LAST_;
    }
    printf("\n%d tensors\n", (int)n);
    for (k = 0; k < n_rows; k++) {
        printf("  %-8s %6d tensors ", hybrid_gguf_tensor_type_name(row[k].id), (int)row[k].count);
        print_bytes(row[k].bytes, 7);
        printf("  %5.1f %%  %6.3f bits a value%s\n", all > 0 ? 100 * row[k].bytes / all : 0,
               row[k].values > 0 ? 8 * row[k].bytes / row[k].values : 0.0,
               row[k].first->type == HYBRID_TYPE_LAST_ ? "   hybrid cannot run it" : "");
    }
    if (unknown)
        printf("  hybrid cannot run every type in this file: look for the model in another quantization, Q4_K_M or "
               "Q8_0 for example.\n");
}

static void print_tensors(const hybrid_gguf *file)
{
    size_t i, n = hybrid_gguf_tensor_count(file);
    int d;
    printf("\n");
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(file, i);
        char shape[96];
        int at = 0;
        shape[0] = 0;
        for (d = 0; d < t->n_dims; d++)
            at +=
                snprintf(shape + at, sizeof shape - (size_t)at, "%s%llu", d ? " x " : "", (unsigned long long)t->ne[d]);
        printf("  %-8s %-24s ", hybrid_gguf_tensor_type_name(t->type_id), shape);
        print_bytes((double)tensor_bytes(file, i), 7);
        printf("  at %-12llu ", (unsigned long long)t->offset);
        if (hybrid_gguf_part_count(file) > 1) printf("of part %-4u ", (unsigned)t->part + 1);
        print_text(t->name, 100);
        printf("\n");
    }
}

/* ---- the summary ------------------------------------------------------------------------------------------------- */

/* Integer KEY of the architecture: "llama.block_count". */
static bool arch_int(const hybrid_gguf *file, hybrid_string arch, const char *key, int64_t *out)
{
    char name[128];
    snprintf(name, sizeof name, "%.*s.%s", (int)(arch.size < 64 ? arch.size : 64), arch.data, key);
    return hybrid_gguf_get_i64(file, name, out);
}

static void print_line(const char *title, const hybrid_gguf *file, const char *key)
{
    hybrid_string s;
    if (!hybrid_gguf_get_string(file, key, &s)) return;
    printf("  %-16s", title);
    print_text(s, 80);
    printf("\n");
}

static void print_summary(const hybrid_gguf *file)
{
    static const struct {
        const char *key, *title;
    } sizes[] = { { "block_count", "layers" },
                  { "embedding_length", "width" },
                  { "feed_forward_length", "feed forward" },
                  { "attention.head_count", "heads" },
                  { "attention.head_count_kv", "kv heads" },
                  { "expert_count", "experts" },
                  { "context_length", "context" } };
    hybrid_string arch = { "", 0 }, template_text;
    hybrid_gguf_value tokens;
    double values = 0;
    int64_t n;
    size_t i;
    print_line("name", file, "general.name");
    print_line("architecture", file, "general.architecture");
    hybrid_gguf_get_string(file, "general.architecture", &arch);
    for (i = 0; i < hybrid_gguf_tensor_count(file); i++) values += tensor_values(hybrid_gguf_tensor_at(file, i));
    if (values > 0)
        printf("  %-16s%.0f (%.4g %s)\n", "parameters", values,
               values < 1e6   ? values / 1e3
               : values < 1e9 ? values / 1e6
                              : values / 1e9,
               values < 1e6   ? "thousand"
               : values < 1e9 ? "million"
                              : "billion");
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (arch_int(file, arch, sizes[i].key, &n))
            printf("  %-16s%lld%s\n", sizes[i].title, (long long)n, i == 6 ? " tokens" : "");
    if (hybrid_gguf_find(file, "tokenizer.ggml.tokens", &tokens)) {
        print_line("tokenizer", file, "tokenizer.ggml.model");
        print_line("  splits as", file, "tokenizer.ggml.pre");
        printf("  %-16s%llu tokens\n", "vocabulary", (unsigned long long)tokens.count);
    } else
        printf("  %-16s%s\n", "tokenizer", "none");
    printf("  %-16s%s\n", "chat template",
           hybrid_gguf_get_string(file, "tokenizer.chat_template", &template_text) ? "yes" : "no");
    print_line("licence", file, "general.license");
}

/* What loading it and running it would take. */
static void print_plan(const char *path, int32_t n_ctx, hybrid_kv kv)
{
    hybrid_model_desc model;
    hybrid_context_desc context;
    hybrid_memory_plan plan;
    hybrid_error error;
    size_t i;
    memset(&model, 0, sizeof model);
    memset(&context, 0, sizeof context);
    model.path = path;
    context.n_ctx = n_ctx;
    context.kv = kv;
    printf("\nmemory\n");
    if (hybrid_plan(NULL, &model, &context, &plan, &error)) {
        printf("  hybrid cannot run it: %s\n", error.message);
        return;
    }
    {
        const struct {
            const char *title;
            uint64_t bytes;
        } rows[] = { { "in the file, mapped", plan.mapped },
                     { "weights", plan.weights },
                     { "keys, tokenizer", plan.model },
                     { "KV cache", plan.kv },
                     { "computing", plan.compute },
                     { "allocated in all", plan.total },
                     { "GPU: weights", plan.device_weights },
                     { "GPU: KV cache", plan.device_kv },
                     { "GPU: computing", plan.device_compute },
                     { "GPU: in all", plan.device } };
        for (i = 0; i < (plan.device ? 10u : 6u); i++) {
            printf("  %-20s", rows[i].title);
            print_bytes((double)rows[i].bytes, 7);
            printf("%s\n", i == 0 ? "  shared; the system may drop it" : "");
        }
    }
}

int main(int argc, char **argv)
{
    static const char *const kv_names[] = { "f16", "q8_0", "f32" };
    bool tensors = false, keys = true;
    int kv = HYBRID_KV_F16;
    long n_ctx = 0;
    hybrid_source source;
    hybrid_gguf *file;
    hybrid_error error;
    size_t i;
    int a;
    memset(&source, 0, sizeof source);
    for (a = 1; a < argc; a++) {
        if (!strcmp(argv[a], "--help") || !strcmp(argv[a], "-h")) {
            fputs(HELP, stdout);
            return 0;
        } else if (!strcmp(argv[a], "--tensors"))
            tensors = true;
        else if (!strcmp(argv[a], "--no-keys"))
            keys = false;
        else if (!strcmp(argv[a], "--context") && a + 1 < argc) {
            n_ctx = strtol(argv[++a], NULL, 10);
            if (n_ctx < 1 || n_ctx > 1 << 30) {
                fprintf(stderr, "inspect: --context takes a number of tokens, not '%s'\n", argv[a]);
                return 2;
            }
        } else if (!strcmp(argv[a], "--kv") && a + 1 < argc) {
            for (kv = 0; kv < 3 && strcmp(argv[a + 1], kv_names[kv]); kv++) {}
            if (kv == 3) {
                fprintf(stderr, "inspect: --kv is f16, q8_0 or f32, not '%s'\n", argv[a + 1]);
                return 2;
            }
            a++;
        } else if (argv[a][0] == '-' || source.path) {
            fprintf(stderr, "inspect: what is '%s'? --help tells the options\n", argv[a]);
            return 2;
        } else
            source.path = argv[a];
    }
    if (!source.path) {
        fputs(HELP, stderr);
        return 2;
    }
    if (hybrid_gguf_open(NULL, &source, &file, &error)) {
        fprintf(stderr, "inspect: %s: %s\n", source.path, error.message);
        return 1;
    }
    printf("%s: GGUF version %d, ", source.path, hybrid_gguf_version(file));
    print_bytes((double)hybrid_gguf_file_size(file), 0);
    if (hybrid_gguf_part_count(file) > 1) printf(" in %d parts", (int)hybrid_gguf_part_count(file));
    printf("\n");
    print_summary(file);
    if (hybrid_gguf_tensor_count(file)) print_plan(source.path, (int32_t)n_ctx, (hybrid_kv)kv);
    print_types(file);
    if (tensors) print_tensors(file);
    if (keys) {
        printf("\n%d keys\n", (int)hybrid_gguf_key_count(file));
        for (i = 0; i < hybrid_gguf_key_count(file); i++) print_key(file, i);
    }
    hybrid_gguf_destroy(file);
    return 0;
}
