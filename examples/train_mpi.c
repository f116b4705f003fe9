/* train_mpi: train.c on several machines, or several processes of one: each rank trains on sequences of its own, and
 * MPI adds up their gradients.
 *
 *     mpicc -O2 train_mpi.c -o train_mpi -lm             (hybrid.h beside it; Debian: libopenmpi-dev)
 *     mpirun -n 4 ./train_mpi shakespeare.txt -o shakespeare.gguf
 *
 * N ranks with batches of B sequences take the steps of one rank with N * B, within the rounding of sums, and have the
 * same weights, bit for bit. Rank 0 writes OUT.ckpt; when a rank dies, mpirun ends the others, each with a sentence,
 * and the same command goes on from there. All ranks must see the texts and OUT.ckpt under the same names.
 *
 * What a step takes. A rank sends, and receives, 2 (N - 1) / N times the bytes of the gradients, which hybrid hands
 * over layer by layer while the backward pass goes on: what is left to wait for at its end is the embedding, or all of
 * it where the network is slower than the processor. Compute, measured: GPT-2 124M takes 6.5 ms a token on two cores of
 * an EPYC (AVX2); the other sizes by their number of weights. 4096 tokens a rank and step; seconds at 10 (100) Gbit/s
 * of which nine tenths are used: */
/* clang-format off */
/*     weights   compute   MB sent by a rank of       seconds for that, at         step of 1 / 8 / 64 / 1024
 *                         8 / 64 / 1024              10 (100) Gbit/s              ranks, at 10 Gbit/s
 *      124 M      26 s      871 /   980 /   994       0.77 / 0.87 / 0.88            26 /  27 /  27 /  27 s
 *                                                    (0.08 / 0.09 / 0.09)
 *      355 M      76 s     2485 /  2796 /  2837       2.2  / 2.5  / 2.5             76 /  76 /  76 /  76 s
 *     1558 M     335 s    10906 / 12269 / 12452       9.7  / 10.9 / 11.1           335 / 336 / 336 / 336 s
 */
/* clang-format on */
/* So on CPUs a plain network is enough, until a step is a few hundred tokens a rank: 256 tokens of the 124 M model are
 * 1.7 s beside 0.87 s. A processor that is a hundred times as fast asks for a network that is, too.
 *
 * On GPUs: build with -DHYBRID_NCCL and NCCL's and CUDA's headers and libraries, and gradients go from GPU to GPU:
 *     mpicc -O2 -DHYBRID_NCCL -I/usr/local/cuda/include train_mpi.c -o train_mpi -lm -lnccl -lcudart
 * This has been compiled, but has not run: no machine with two GPUs was at hand. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#if defined(HYBRID_NCCL)
    #include "hybrid_cuda.h"
    #include <cuda_runtime.h>
    #include <nccl.h>
#endif
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "train_mpi: a language model from nothing, on several machines\n"
    "\n"
    "usage: mpirun -n RANKS train_mpi TEXT [options]\n"
    "\n"
    "  -o, --out FILE        the model (default model.gguf); FILE.ckpt lies beside it\n"
    "  -n, --steps N         steps in all (default 1000)\n"
    "      --vocab N         tokens of the vocabulary (default 1024)\n"
    "      --layers N        layers (default 4)\n"
    "      --width N         width, a multiple of the heads (default 128)\n"
    "      --heads N         heads (default 4)\n"
    "  -c, --context N       tokens of a sequence (default 64)\n"
    "  -b, --batch N         sequences of a batch, for each rank (default 12)\n"
    "      --accumulate N    batches of a step (default 1)\n"
    "      --rate X          learning rate (default 0.001; it falls along a cosine to a tenth)\n"
    "      --every N         steps between checkpoints (default 100)\n"
    "      --each            in the end each rank R writes FILE.rankR.ckpt: they have the same bytes\n"
    "  -s, --seed N          for other weights and another order (default 0)\n"
    "  -j, --threads N       threads of a rank (default 1)\n";

enum { REQUESTS = 512 };
typedef struct run {
    int rank, n_ranks, every, threads, vocab, each;
    const char *text, *out;
    char ckpt[1024];
    hybrid_model_shape shape;
    hybrid_trainer_desc train;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_data *data;
    hybrid_trainer *trainer;
    MPI_Request requests[REQUESTS]; /* sums that are under way */
    int n_requests;
#if defined(HYBRID_NCCL)
    ncclComm_t nccl;
#endif
} run;

static int fail(const run *r, const char *text)
{
    fprintf(stderr, "train_mpi: rank %d: %s\n", r->rank, text);
    return 1;
}

/* mpirun ends all ranks when one has died. MPI cannot be asked any more: only a sentence, in one piece. */
static char last_words[1280];
static void on_term(int number)
{
    (void)number;
    if (write(2, last_words, strlen(last_words)) < 0) _exit(2);
    _exit(1);
}

/* ---- the hook ------------------------------------------------------------------------------------------------- */

static bool reduce_end(void *user)
{
    run *r = (run *)user;
    const int failed = MPI_Waitall(r->n_requests, r->requests, MPI_STATUSES_IGNORE);
    r->n_requests = 0;
    return failed == MPI_SUCCESS;
}

/* Begins to add up the numbers of all ranks, in their place; reduce_end waits. */
static bool reduce(void *user, float *data, size_t count, void *stream)
{
    run *r = (run *)user;
#if defined(HYBRID_NCCL)
    if (stream) return !ncclAllReduce(data, data, count, ncclFloat, ncclSum, r->nccl, (cudaStream_t)stream);
#endif
    (void)stream;
    while (count) { /* MPI counts with int */
        const size_t n = count < ((size_t)1 << 30) ? count : (size_t)1 << 30;
        if (r->n_requests == REQUESTS && !reduce_end(r)) return false;
        if (MPI_Iallreduce(MPI_IN_PLACE, data, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                           &r->requests[r->n_requests++]) != MPI_SUCCESS)
            return false;
        data += n;
        count -= n;
    }
    return true;
}

#if defined(HYBRID_NCCL)
/* One GPU for each rank of a machine. */
static bool open_nccl(run *r, char *device)
{
    ncclUniqueId id;
    MPI_Comm local;
    int rank, n_devices;
    memset(&id, 0, sizeof id);
    if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, r->rank, MPI_INFO_NULL, &local)) return false;
    MPI_Comm_rank(local, &rank);
    MPI_Comm_free(&local);
    if (cudaGetDeviceCount(&n_devices) != cudaSuccess || !n_devices) return false;
    if (cudaSetDevice(rank % n_devices) != cudaSuccess) return false;
    sprintf(device, "cuda:%d", rank % n_devices);
    if (!r->rank && ncclGetUniqueId(&id)) return false;
    if (MPI_Bcast(&id, (int)sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD)) return false;
    return !ncclCommInitRank(&r->nccl, r->n_ranks, id, r->rank);
}
#endif

/* ---- the run -------------------------------------------------------------------------------------------------- */

static int parse(int argc, char **argv, run *r)
{
    hybrid_trainer_desc *t = &r->train;
    int i;
    r->out = "model.gguf";
    r->every = 100;
    r->threads = 1;
    r->vocab = 1024;
    r->shape.n_layer = r->shape.n_head = 4;
    r->shape.n_embd = 128;
    t->n_ctx = 64;
    t->n_seq = 12;
    t->n_batches = 1;
    t->n_steps = 1000;
    t->rate = 1e-3f;
    t->decay = 0.1f;
    t->clip = 1;
    t->schedule = HYBRID_SCHEDULE_COSINE;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
#define IS(s, l) (!strcmp(a, s) || !strcmp(a, l))
        if (IS("--each", "--each"))
            r->each = 1;
        else if (a[0] != '-')
            r->text = a;
        else if (IS("-o", "--out"))
            r->out = v, i++;
        else if (IS("-n", "--steps"))
            t->n_steps = atol(v), i++;
        else if (IS("--vocab", "--vocab"))
            r->vocab = atoi(v), i++;
        else if (IS("--layers", "--layers"))
            r->shape.n_layer = atoi(v), i++;
        else if (IS("--width", "--width"))
            r->shape.n_embd = atoi(v), i++;
        else if (IS("--heads", "--heads"))
            r->shape.n_head = atoi(v), i++;
        else if (IS("-c", "--context"))
            t->n_ctx = atoi(v), i++;
        else if (IS("-b", "--batch"))
            t->n_seq = atoi(v), i++;
        else if (IS("--accumulate", "--accumulate"))
            t->n_batches = atoi(v), i++;
        else if (IS("--rate", "--rate"))
            t->rate = (float)atof(v), i++;
        else if (IS("--every", "--every"))
            r->every = atoi(v), i++;
        else if (IS("-s", "--seed"))
            r->shape.seed = strtoull(v, NULL, 10), i++;
        else if (IS("-j", "--threads"))
            r->threads = atoi(v), i++;
        else
            return fail(r, "there is an option that does not exist (see --help)");
#undef IS
    }
    if (!r->text || strlen(r->out) > 1000) return fail(r, r->text ? "the name is too long" : "no text (see --help)");
    if (t->n_seq < 1 || t->n_batches < 1 || r->every < 1) return fail(r, "numbers must be at least 1");
    r->shape.n_ctx = t->n_ctx;
    t->rate_end = t->rate / 10;
    t->n_warmup = t->n_steps / 10 < 100 ? t->n_steps / 10 : 100;
    return 0;
}

/* Every rank makes the same vocabulary and the same model; or all load the checkpoint. */
static bool open_run(run *r, bool resumed, hybrid_error *e)
{
    hybrid_tokenizer *tokenizer = NULL;
    hybrid_runtime_desc rd;
    hybrid_source text;
    hybrid_bpe_desc bpe;
    hybrid_data_desc dd;
    hybrid_model_desc md;
    hybrid_result result;
    char device[32] = "cpu";
    memset(&rd, 0, sizeof rd);
    memset(&text, 0, sizeof text);
    memset(&bpe, 0, sizeof bpe);
    memset(&dd, 0, sizeof dd);
    memset(&md, 0, sizeof md);
#if defined(HYBRID_NCCL)
    if (!open_nccl(r, device)) return fail(r, "there is no GPU for NCCL"), false;
#endif
    rd.n_threads = r->threads;
    rd.device = device;
    text.path = r->text;
    bpe.texts = dd.sources = &text;
    bpe.n_texts = dd.n_sources = 1;
    bpe.vocab_size = r->vocab;
    md.path = r->ckpt;
    md.trainable = true;
    if (hybrid_runtime_create(&rd, &r->rt, e)) return false;
    if (!resumed && hybrid_bpe_train(r->rt, &bpe, &tokenizer, NULL, e)) return false;
    r->shape.tokenizer = tokenizer;
    result =
        resumed ? hybrid_model_load(r->rt, &md, &r->model, e) : hybrid_model_create(r->rt, &r->shape, &r->model, e);
    hybrid_tokenizer_destroy(tokenizer);
    if (result) return false;
    dd.tokenizer = hybrid_model_tokenizer(r->model);
    dd.n_ctx = r->train.n_ctx;
    dd.seed = r->shape.seed;
    r->train.model = r->model;
    r->train.all_reduce = reduce;
    r->train.all_reduce_end = reduce_end;
    r->train.all_reduce_user = r;
    if (hybrid_data_create(r->rt, &dd, &r->data, e) || hybrid_trainer_create(&r->train, &r->trainer, e)) return false;
    return !resumed || !hybrid_trainer_load(r->trainer, r->ckpt, e);
}

/* All ranks must be at the same step: a checkpoint that one of them cannot see would be a mixture. */
static bool together(const run *r)
{
    long mine[2], all[2];
    mine[0] = (long)hybrid_trainer_steps(r->trainer);
    mine[1] = -mine[0];
    if (MPI_Allreduce(mine, all, 2, MPI_LONG, MPI_MAX, MPI_COMM_WORLD) != MPI_SUCCESS) return false;
    return all[0] == -all[1];
}

static bool save(run *r, const char *path, hybrid_error *e)
{
    hybrid_data_position where = hybrid_data_where(r->data);
    return !hybrid_trainer_set_user(r->trainer, &where, sizeof where, e) && !hybrid_trainer_save(r->trainer, path, e);
}

/* A step: every rank reads the batches of all, in the same order, and takes its own. */
static bool step(run *r, int32_t *ids, int32_t *targets, hybrid_train_batch *batches, hybrid_train_metrics *m,
                 hybrid_error *e)
{
    const size_t n = (size_t)r->train.n_seq * (size_t)r->train.n_ctx, all = n * (size_t)r->n_ranks;
    int i;
    for (i = 0; i < r->train.n_batches; i++) {
        if (hybrid_data_next(r->data, r->train.n_seq * r->n_ranks, ids + (size_t)i * all, targets + (size_t)i * all, e))
            return false;
        batches[i].ids = ids + (size_t)i * all + (size_t)r->rank * n;
        batches[i].targets = targets + (size_t)i * all + (size_t)r->rank * n;
    }
    return !hybrid_trainer_step(r->trainer, batches, m, e);
}

static bool train(run *r, hybrid_error *e)
{
    const size_t all = (size_t)r->train.n_seq * (size_t)r->train.n_ctx * (size_t)r->n_ranks;
    int32_t *ids = (int32_t *)malloc(2 * sizeof *ids * all * (size_t)r->train.n_batches);
    hybrid_train_batch *batches = (hybrid_train_batch *)calloc((size_t)r->train.n_batches, sizeof *batches);
    bool ok = ids && batches;
    int64_t done = hybrid_trainer_steps(r->trainer);
    while (ok && done < r->train.n_steps) {
        hybrid_train_metrics m;
        ok = step(r, ids, ids + all * (size_t)r->train.n_batches, batches, &m, e);
        if (!ok) break;
        done = m.step;
        if (!r->rank)
            fprintf(stderr, "step %lld of %lld  loss %.7f  %.0f tokens/s\n", (long long)done,
                    (long long)r->train.n_steps, m.loss, (double)m.n_tokens / m.seconds);
        if (done % r->every && done != r->train.n_steps) continue;
        if (!r->rank) ok = save(r, r->ckpt, e);
    }
    free(batches);
    free(ids);
    return ok;
}

static bool all_of_it(run *r, hybrid_error *e)
{
    FILE *f = fopen(r->ckpt, "rb");
    const bool resumed = f != NULL;
    const void *user;
    char path[1100];
    size_t size;
    if (f) fclose(f);
    MPI_Barrier(MPI_COMM_WORLD); /* all have looked before one writes */
    if (!open_run(r, resumed, e)) return false;
    if (!together(r)) return fail(r, "the ranks are not at the same step: do all of them see the checkpoint?"), false;
    user = hybrid_trainer_user(r->trainer, &size);
    if (resumed && user && size == sizeof(hybrid_data_position)) {
        hybrid_data_position where;
        memcpy(&where, user, sizeof where);
        if (hybrid_data_seek(r->data, where, e)) return false;
    }
    snprintf(last_words, sizeof last_words,
             "train_mpi: rank %d: another rank has died, or the job was stopped: the same command goes on from the "
             "last checkpoint, %s, or begins anew where there is none\n",
             r->rank, r->ckpt);
    signal(SIGTERM, on_term);
    if (!train(r, e)) return false;
    if (r->each) {
        snprintf(path, sizeof path, "%s.rank%d.ckpt", r->out, r->rank);
        if (!save(r, path, e)) return false;
    }
    return r->rank || !hybrid_trainer_export(r->trainer, r->out, HYBRID_MIX_F32, e);
}

int main(int argc, char **argv)
{
    static run r;
    hybrid_error e;
    bool ok;
    int i;
    for (i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) return fputs(usage, stdout) < 0;
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) return fail(&r, "MPI does not start");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* a sum that fails is the trainer's sentence */
    MPI_Comm_rank(MPI_COMM_WORLD, &r.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r.n_ranks);
    e.message[0] = 0;
    ok = !parse(argc, argv, &r);
    if (ok) sprintf(r.ckpt, "%s.ckpt", r.out);
    ok = ok && all_of_it(&r, &e);
    if (!ok && e.message[0]) fail(&r, e.message);
    if (!ok) MPI_Abort(MPI_COMM_WORLD, 1); /* the others wait for sums that will not come */
    hybrid_trainer_destroy(r.trainer);
    hybrid_data_destroy(r.data);
    hybrid_model_destroy(r.model);
    hybrid_runtime_destroy(r.rt);
    MPI_Finalize();
    return 0;
}
