/* quantize: makes a model file smaller (or converts it back to floats).
 *
 *     cc -O2 quantize.c -o quantize -lm                  (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./quantize model-F16.gguf model-Q4_K_M.gguf Q4_K_M
 *
 * ./quantize --help lists the types. Runs on all cores; the bytes do not depend on how many there are. (Without -O2 it
 * does the same, eight times slower.) */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

#define SLAB_BYTES ((size_t)16 << 20) /* of what is read and converted at a time */

static int usage(FILE *out)
{
    hybrid_mix mix;
    size_t i;
    fprintf(out,
            "usage: quantize [--threads N] IN.gguf OUT.gguf TYPE\n\n"
            "Writes the model IN with its matrices in another type. Norms, biases and the like stay as they are; "
            "matrices whose\n"
            "rows do not divide into blocks get the next better type. TYPE, from the largest file to the smallest:\n ");
    for (i = 0; hybrid_mix_at(i, &mix); i++) fprintf(out, " %s", hybrid_mix_name(mix));
    fprintf(out, "\nQ4_K_M is a good choice for most; Q8_0 is nearly exact. Start from F32, F16 or BF16: what an "
                 "earlier quantization lost\n"
                 "does not come back.\n");
    return out == stdout ? 0 : 2;
}

static int progress_shown;

static void clear_progress(void)
{
    if (progress_shown) fprintf(stderr, "\r%60s\r", "");
    progress_shown = 0;
}

static int fail(const char *what, const char *why)
{
    clear_progress();
    fprintf(stderr, "quantize: %s: %s\n", what, why);
    return 1;
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= -2e9 && x <= 2e9) return x;
    fprintf(stderr, "quantize: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

/* A number of the model's own key ARCHITECTURE.name, the first one of an array; 0 when there is none. */
static int model_number(const hybrid_gguf *in, const char *architecture, const char *name)
{
    hybrid_gguf_value value;
    char key[256];
    int64_t n;
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    if (!hybrid_gguf_find(in, key, &value)) return 0;
    n = hybrid_gguf_item_i64(&value, 0);
    return n > 0 && n < 1000000 ? (int)n : 0;
}

/* Heads of keys in each layer, where the file says so. */
static void read_heads(const hybrid_gguf *in, const char *architecture, hybrid_mix_model *model)
{
    static int32_t heads[4096];
    hybrid_gguf_value value;
    char key[256];
    int i;
    snprintf(key, sizeof key, "%s.attention.head_count_kv", architecture);
    if (!hybrid_gguf_find(in, key, &value) || value.type != HYBRID_GGUF_ARRAY) return;
    if (model->n_layer > 4096 || value.count < (uint64_t)model->n_layer) return;
    for (i = 0; i < model->n_layer; i++) heads[i] = (int32_t)hybrid_gguf_item_i64(&value, (uint64_t)i);
    model->n_head_kv_of = heads;
}

static void show_progress(double part, const char *name)
{
    static time_t last;
    time_t now = time(NULL);
    if (last && now != last) {
        fprintf(stderr, "\r%3.0f %%  %-48.48s", 100 * part, name);
        progress_shown = 1;
    }
    last = now;
}

static int is_float(hybrid_type type) { return hybrid_type_block_size(type) == 1; }

/* One tensor, a slab of rows at a time. */
static hybrid_result convert_tensor(hybrid_runtime *rt, hybrid_gguf *in, const hybrid_gguf_tensor *t, hybrid_type type,
                                    hybrid_gguf_writer *out, double before, double all, hybrid_error *err)
{
    size_t row = (size_t)t->ne[0], n_rows = t->size ? (size_t)(t->ne[1] * t->ne[2] * t->ne[3]) : 0,
           from_row = hybrid_type_row_bytes(t->type, row);
    size_t to_row = hybrid_type_row_bytes(type, row), slab = SLAB_BYTES / (row * sizeof(float) + 1) + 1, at, n;
    const char *src = (const char *)t->data;
    char *whole = NULL, *dst = NULL, name[64];
    hybrid_result r = HYBRID_OK;
    snprintf(name, sizeof name, "%.*s", (int)(t->name.size < 63 ? t->name.size : 63), t->name.data);
    if (slab > n_rows) slab = n_rows;
    if (!src) { /* a system that does not map files */
        if (!(whole = (char *)malloc((size_t)t->size + 1)))
            r = HYBRID_ERROR_MEMORY;
        else
            r = hybrid_gguf_read_tensor(in, t, whole, err);
        src = whole;
    }
    if (!r && type != t->type && !(dst = (char *)malloc(slab * to_row + 1))) r = HYBRID_ERROR_MEMORY;
    if (r == HYBRID_ERROR_MEMORY) snprintf(err->message, sizeof err->message, "out of memory");
    for (at = 0; !r && at < n_rows; at += n) {
        n = n_rows - at < slab ? n_rows - at : slab;
        show_progress((before + (double)(at * row)) / all, name);
        if (type == t->type)
            r = hybrid_gguf_write(out, src + at * from_row, n * from_row, err);
        else if (!(r = hybrid_convert(rt, t->type, src + at * from_row, type, dst, n, row, NULL, err)))
            r = hybrid_gguf_write(out, dst, n * to_row, err);
    }
    free(dst);
    free(whole);
    return r;
}

static int quantize(hybrid_runtime *rt, hybrid_gguf *in, hybrid_gguf_writer *out, const char *out_path, hybrid_mix mix)
{
    size_t n = hybrid_gguf_tensor_count(in), i, counts[HYBRID_TYPE_LAST_] = { 0 };
    double values = 0, done = 0, bytes = 0;
    hybrid_type *types = (hybrid_type *)malloc((n + 1) * sizeof *types);
    hybrid_mix_model model;
    hybrid_string architecture = { "", 0 };
    char arch[128], name[1024];
    hybrid_error err;
    int lossy = 0;
    if (!types) return fail(out_path, "out of memory");
    memset(&model, 0, sizeof model);
    hybrid_gguf_get_string(in, "general.architecture", &architecture);
    snprintf(arch, sizeof arch, "%.*s", (int)(architecture.size < 127 ? architecture.size : 127), architecture.data);
    model.architecture = arch;
    model.n_layer = model_number(in, arch, "block_count");
    model.n_expert = model_number(in, arch, "expert_count");
    model.n_head = model_number(in, arch, "attention.head_count");
    model.n_head_kv = model_number(in, arch, "attention.head_count_kv");
    if (!model.n_head_kv) model.n_head_kv = model.n_head;
    read_heads(in, arch, &model);
    model.tied_output = !hybrid_gguf_find_tensor(in, "output.weight");

    hybrid_gguf_copy_keys(out, in, NULL);
    hybrid_gguf_set_int(out, "general.file_type", HYBRID_GGUF_U32, mix, NULL);
    hybrid_gguf_set_int(out, "general.quantization_version", HYBRID_GGUF_U32, 2, NULL);
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        snprintf(name, sizeof name, "%.*s", (int)(t->name.size < sizeof name ? t->name.size : sizeof name - 1),
                 t->name.data);
        if (t->type == HYBRID_TYPE_LAST_) {
            snprintf(err.message, sizeof err.message, "its type %u (%s) is none that hybrid can read",
                     (unsigned)t->type_id, hybrid_gguf_tensor_type_name(t->type_id));
            free(types);
            return fail(name, err.message);
        }
        types[i] = hybrid_quantize_type_for(mix, &model, name, t->n_dims, t->ne, t->type);
        if (types[i] != t->type && !is_float(t->type)) lossy++;
        values += (double)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
        hybrid_gguf_add_tensor(out, name, types[i], t->n_dims, t->ne, NULL);
    }
    if (lossy) fprintf(stderr, "note: %d tensors are quantized already; what that lost does not come back\n", lossy);
    if (hybrid_gguf_begin_path(out, out_path, &err)) {
        free(types);
        return fail(out_path, err.message);
    }
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        if (convert_tensor(rt, in, t, types[i], out, done, values ? values : 1, &err)) {
            snprintf(name, sizeof name, "%.*s", (int)(t->name.size < 63 ? t->name.size : 63), t->name.data);
            free(types);
            return fail(name, err.message);
        }
        done += (double)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
        bytes += (double)hybrid_type_row_bytes(types[i], (size_t)t->ne[0]) * (double)(t->ne[1] * t->ne[2] * t->ne[3]);
        counts[types[i]]++;
    }
    free(types);
    if (hybrid_gguf_end(out, &err)) return fail(out_path, err.message);
    clear_progress();
    printf("%s: %.1f MB, %.2f bits a weight; tensors:", out_path, bytes / 1e6, values ? 8 * bytes / values : 0.0);
    for (i = 0; i < HYBRID_TYPE_LAST_; i++)
        if (counts[i]) printf(" %s %d", hybrid_type_name((hybrid_type)i), (int)counts[i]);
    printf("\n");
    return 0;
}

int main(int argc, char **argv)
{
    hybrid_runtime_desc desc = { 0 };
    hybrid_source source = { 0 };
    hybrid_runtime *rt = NULL;
    hybrid_gguf *in = NULL;
    hybrid_gguf_writer *out = NULL;
    hybrid_mix mix;
    hybrid_error err;
    int i = 1, result;
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) return usage(stdout);
    if (argc > 2 && !strcmp(argv[1], "--threads")) {
        desc.n_threads = (int)number(argv[1], argv[2]);
        i = 3;
    }
    if (argc - i != 3) return usage(stderr);
    if (!hybrid_mix_find(argv[i + 2], &mix)) return fail(argv[i + 2], "is not a type; quantize --help lists them");
    if (!strcmp(argv[i], argv[i + 1])) return fail(argv[i], "IN and OUT are the same file");
    source.path = argv[i];
    if (hybrid_runtime_create(&desc, &rt, &err)) return fail("--threads", err.message);
    if (hybrid_gguf_open(rt, &source, &in, &err))
        result = fail(argv[i], err.message);
    else if (hybrid_gguf_writer_create(rt, &out, &err))
        result = fail(argv[i + 1], err.message);
    else
        result = quantize(rt, in, out, argv[i + 1], mix);
    hybrid_gguf_writer_destroy(out);
    hybrid_gguf_destroy(in);
    hybrid_runtime_destroy(rt);
    return result;
}
