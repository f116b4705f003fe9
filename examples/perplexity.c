/* perplexity: how well a GGUF model predicts a text.
 *
 *     cc -O2 perplexity.c -o perplexity -lm              (hybrid.h beside it; on Windows windows_utf8.h, too)
 *     ./perplexity model.gguf text.txt
 *
 * The text is cut into windows; in each the second half is scored, given everything before it in the window. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
    #include "windows_utf8.h" /* arguments and console in UTF-8, as elsewhere */
#endif

static const char usage[] = "perplexity: how well a GGUF model predicts a text (lower is better)\n"
                            "\n"
                            "usage: perplexity MODEL.gguf TEXT.txt [options]\n"
                            "\n"
                            "  -c, --context N   tokens in a window (default 512)\n"
                            "  -w, --windows N   windows to score (default: all)\n"
                            "  -j, --threads N   threads (default: all cores, at most 16)\n"
                            "      --kv f16|q8_0|f32  type of the cache (default f16)\n";

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "perplexity: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return 1;
}

/* The value of an option that takes a number; anything else ends the program. */
static double number(const char *option, const char *text)
{
    char *end;
    const double x = strtod(text, &end);
    if (end != text && !*end && x >= -2e9 && x <= 2e9) return x;
    fprintf(stderr, "perplexity: %s takes a number, not '%s'\n", option, text);
    exit(1);
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *p = NULL;
    long n;
    if (!f) return NULL;
    if (!fseek(f, 0, SEEK_END) && (n = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET) &&
        (p = (char *)malloc((size_t)n)) != NULL)
        *size = fread(p, 1, (size_t)n, f);
    fclose(f);
    return p;
}

/* -log probability of token id, in nats */
static double surprise(const float *logits, int n, int32_t id)
{
    double most = logits[0], sum = 0;
    int i;
    for (i = 1; i < n; i++)
        if (logits[i] > most) most = logits[i];
    for (i = 0; i < n; i++) sum += exp(logits[i] - most);
    return log(sum) + most - logits[id];
}

int main(int argc, char **argv)
{
    hybrid_error err;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_runtime *rt = NULL;
    hybrid_model *model = NULL;
    hybrid_context *ctx = NULL;
    hybrid_model_info info;
    const hybrid_tokenizer *tok;
    const char *text_path = NULL;
    char *text = NULL;
    int32_t *ids = NULL, bos;
    size_t size = 0, n = 0, windows, w, limit = 0, scored = 0;
    double nll = 0;
    int i, n_ctx = 512, failed = 1;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            fputs(usage, stdout);
            return 0;
        }
        if (a[0] != '-') {
            if (!md.path)
                md.path = a;
            else if (!text_path)
                text_path = a;
            else
                return fail("too many files", a);
            continue;
        }
        if (!v) return fail("this option needs a value, or does not exist (see --help)", a);
        if (!strcmp(a, "-c") || !strcmp(a, "--context"))
            n_ctx = (int)number(a, v);
        else if (!strcmp(a, "-w") || !strcmp(a, "--windows"))
            limit = (size_t)(int)number(a, v);
        else if (!strcmp(a, "-j") || !strcmp(a, "--threads"))
            rd.n_threads = (int)number(a, v);
        else if (!strcmp(a, "--kv") && !strcmp(v, "f16"))
            cd.kv = HYBRID_KV_F16;
        else if (!strcmp(a, "--kv") && !strcmp(v, "q8_0"))
            cd.kv = HYBRID_KV_Q8_0;
        else if (!strcmp(a, "--kv") && !strcmp(v, "f32"))
            cd.kv = HYBRID_KV_F32;
        else
            return fail("unknown option or value (see --help)", a);
        i++;
    }
    if (!text_path) {
        fputs(usage, stderr);
        return 1;
    }
    if (n_ctx < 4) return fail("a window needs at least 4 tokens", NULL);
    if (!(text = read_file(text_path, &size))) return fail("cannot read", text_path);
    cd.n_ctx = n_ctx;
    cd.n_logits = n_ctx - n_ctx / 2;
    if (hybrid_runtime_create(&rd, &rt, &err) || hybrid_model_load(rt, &md, &model, &err) ||
        hybrid_context_create(model, &cd, &ctx, &err)) {
        fail(err.message, NULL);
        goto end;
    }
    tok = hybrid_model_tokenizer(model);
    hybrid_model_describe(model, &info);
    hybrid_tokenize(tok, text, size, HYBRID_TOKENIZE_ADD_SPECIAL, NULL, 0, &n, NULL);
    if (!(ids = (int32_t *)malloc((n + 1) * sizeof *ids)) ||
        hybrid_tokenize(tok, text, size, HYBRID_TOKENIZE_ADD_SPECIAL, ids, n, &n, &err)) {
        fail("cannot tokenize the text", ids ? err.message : "out of memory");
        goto end;
    }
    windows = n / (size_t)n_ctx;
    if (limit && limit < windows) windows = limit;
    if (!windows) {
        fail("the text has fewer tokens than one window; see --context", NULL);
        goto end;
    }
    bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    for (w = 0; w < windows; w++) {
        int32_t *at = ids + w * (size_t)n_ctx, first = at[0];
        if (hybrid_tokenizer_adds_bos(tok) && bos >= 0) at[0] = bos;
        if (hybrid_seq_remove(ctx, 0, 0, &err) ||
            hybrid_batch_add_logits(ctx, 0, at, (size_t)n_ctx, cd.n_logits, &err) || hybrid_decode(ctx, &err)) {
            fail(err.message, NULL);
            goto end;
        }
        at[0] = first;
        for (i = n_ctx / 2; i < n_ctx - 1; i++, scored++)
            nll += surprise(hybrid_logits_at(ctx, 0, i - n_ctx / 2), info.n_vocab, at[i + 1]);
        fprintf(stderr, "\rwindow %llu/%llu, perplexity %.4f ", (unsigned long long)w + 1, (unsigned long long)windows,
                exp(nll / (double)scored));
    }
    fprintf(stderr, "\n");
    printf("perplexity %.5f over %llu windows of %d tokens (%llu tokens scored)\n", exp(nll / (double)scored),
           (unsigned long long)windows, n_ctx, (unsigned long long)scored);
    failed = 0;
end:
    free(ids);
    free(text);
    hybrid_context_destroy(ctx);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return failed;
}
