/* peer_llmc_train: llm.c as a measuring stick for training: the GPT-2 of bench_train.c by its train_gpt2.c. Built by
 * bench_train.py where a checkout of https://github.com/karpathy/llm.c is given (none of it is in this repository), as
 * that project says, for this very processor. A line of JSON for each step, then the peak of memory.
 *
 *     peer_llmc_train N_SEQ N_CTX N_STEPS        (threads: OMP_NUM_THREADS) */
#define TESTING /* no main */
#include "train_gpt2.c"
#include <sys/resource.h>

/* Its only way to a model is a file: one with small weights, made here. */
static int write_model(const char *path)
{
    static const int shape[8] = { 20240326, 3, 1024, 50257, 12, 12, 768, 50304 };
    const size_t e = 768, n = 50304 * e + 1024 * e + 12 * (12 * e * e + 13 * e) + 2 * e;
    int header[256] = { 0 };
    FILE *f = fopen(path, "wb");
    unsigned random = 1;
    size_t i;
    if (!f) return 1;
    memcpy(header, shape, sizeof shape);
    fwrite(header, sizeof header, 1, f);
    for (i = 0; i < n; i++) {
        float x;
        random = random * 1664525u + 1013904223u;
        x = ((float)(random >> 8) / 8388608.0f - 1.0f) * 0.03f;
        fwrite(&x, sizeof x, 1, f);
    }
    return fclose(f);
}

int main(int argc, char **argv)
{
    char path[] = "/tmp/peer_llmc_XXXXXX";
    const int file = mkstemp(path);
    struct rusage usage;
    GPT2 model;
    int n_seq, n_ctx, n_steps, i, *ids, *targets;
    unsigned random = 1;
    if (argc != 4) return fprintf(stderr, "peer_llmc_train: N_SEQ N_CTX N_STEPS\n"), 1;
    if (file < 0 || write_model(path)) return fprintf(stderr, "peer_llmc_train: cannot write %s\n", path), 1;
    n_seq = atoi(argv[1]);
    n_ctx = atoi(argv[2]);
    n_steps = atoi(argv[3]);
    fclose(stdout); /* it prints */
    gpt2_build_from_checkpoint(&model, path);
    close(file);
    unlink(path);
    ids = malloc(sizeof *ids * (size_t)(n_seq * n_ctx));
    targets = malloc(sizeof *targets * (size_t)(n_seq * n_ctx));
    for (i = 0; i < n_seq * n_ctx; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = (int)(random >> 8) % 50257;
        targets[(i + n_seq * n_ctx - 1) % (n_seq * n_ctx)] = ids[i];
    }
    for (i = 0; i < n_steps; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        gpt2_forward(&model, ids, targets, (size_t)n_seq, (size_t)n_ctx);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 3e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, i + 1);
        clock_gettime(CLOCK_MONOTONIC, &to);
        fprintf(stderr, "{\"tokens_per_second\": %.2f, \"loss\": %.4f}\n",
                n_seq * n_ctx / ((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec)),
                (double)model.mean_loss);
    }
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr, "{\"peak_mb\": %.0f}\n", (double)usage.ru_maxrss / 1024);
    return 0;
}
