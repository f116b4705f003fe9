/* bench_cuda: what gpu_check.py measures on a GPU, one line of JSON a measurement, printed as soon as it is there.
 *
 *     cc -O2 -I. -DHYBRID_NO_SIMD -DHYBRID_NO_TEXT tests/bench/bench_cuda.c -o build/bench_cuda -lm
 *     bench_cuda device                                          names, versions, where the libraries are
 *     bench_cuda ceilings COPY_MB GEMM_N                         copies of so many MB; bf16 and f16 products N x N x N
 *     bench_cuda make SHAPE MIX FILE                             a model of random weights: qwen2.5-0.5b, llama-7b,
 *     tiny; F16, Q8_0, Q4_K_M, ...
 *     bench_cuda first FILE CACHE N_PROMPT                       the first tokens, with the kernels in folder CACHE
 *     (empty: a cold start)
 *     bench_cuda model FILE CACHE BATCHES PROMPTS N_GENERATE RUNS    decoding and prompts: 1,8,32 and 512,4096
 *
 * Times are wall clock, from the call to the logits on the host. A model that is not whole on the GPU is an error:
 * its speed would say nothing. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include "hybrid_cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEPTH = 128, MAX_RUNS = 64 }; /* DEPTH: positions that a sequence has before it is timed */

static char warnings[1200];

static void stop(const char *message)
{
    fprintf(stderr, "bench_cuda: %s\n%s", message, warnings);
    exit(1);
}
#define TRY(call) \
    do { \
        hybrid_error e_; \
        if (call) stop(e_.message); \
    } while (0)
#define ERR &e_

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void listen_log(void *user, hybrid_log_level level, const char *message)
{
    (void)user;
    if (level <= HYBRID_LOG_WARN && strlen(warnings) + strlen(message) + 2 < sizeof warnings) {
        strcat(warnings, message);
        strcat(warnings, "\n");
    }
}

static void print_text(const char *name, const char *text)
{
    printf("\"%s\": \"", name);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < 32 ? ' ' : *text);
    printf("\", ");
}
static void print_times(const char *name, const double *v, int n)
{
    int i;
    printf("\"%s\": [", name);
    for (i = 0; i < n; i++) printf("%s%.9f", i ? ", " : "", v[i]);
    printf("]");
}
static void end_line(void)
{
    printf("}\n");
    fflush(stdout);
}

static uint64_t rng_state = 1;
static uint32_t rng(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 32);
}
/* About normal, of standard deviation 1. */
static float normal(void)
{
    return ((float)rng() + (float)rng() + (float)rng() + (float)rng() - 8589934590.0f) / 4294967296.0f * 1.7320508f;
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

static hybrid_runtime *open_runtime(const char *cache, hyb_cuda **cu)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt;
    hyb_device *gpu = NULL;
    memset(&rd, 0, sizeof rd);
    rd.logger.log = listen_log;
    rd.device = "cuda";
    rd.kernel_cache.path = cache;
    TRY(hybrid_runtime_create(&rd, &rt, ERR));
    TRY(hyb_runtime_gpu(rt, &gpu, ERR));
    if (!gpu) stop("there is no GPU");
    *cu = hyb_cuda_device_of(gpu)->cu;
    return rt;
}

static uint64_t memory_taken(hyb_cuda *cu)
{
    uint64_t available, total;
    hyb_cuda_memory(cu, &available, &total);
    return total - available;
}

static int run_device(void)
{
    hyb_cuda *cu;
    hybrid_runtime *rt = open_runtime("", &cu);
    const hyb_cublas *blas;
    hybrid_error why;
    uint64_t available, total;
    hyb_cuda_memory(cu, &available, &total);
    printf("{\"what\": \"device\", ");
    print_text("name", cu->name);
    printf("\"capability\": %d, \"multiprocessors\": %d, \"total_bytes\": %llu, \"free_bytes\": %llu, \"driver_cuda\": "
           "%d, ",
           cu->cc, cu->n_sm, (unsigned long long)total, (unsigned long long)available, cu->driver.version);
    print_text("driver_path", cu->driver.library.path);
    printf("\"nvrtc\": \"%d.%d\", ", cu->jit.nvrtc.major, cu->jit.nvrtc.minor);
    print_text("nvrtc_path", cu->jit.nvrtc.library.path);
    printf("\"nvrtc_target\": \"%s_%d\", ", cu->jit.nvrtc.arch.ptx ? "compute" : "sm", cu->jit.nvrtc.arch.number);
    memset(&why, 0, sizeof why);
    if ((blas = hyb_cuda_blas(cu, &why)) != NULL) {
        printf("\"cublas\": \"%d.%d.%d\", ", blas->version[0], blas->version[1], blas->version[2]);
        print_text("cublas_path", blas->library.path);
    } else {
        print_text("cublas", "none");
        print_text("cublas_path", why.message);
    }
    printf("\"hybrid\": \"%s\"", HYBRID_VERSION);
    end_line();
    hybrid_runtime_destroy(rt);
    return 0;
}

/* ---- ceilings: what this GPU does at best, through our own queue and cuBLAS -------------------------------------- */

/* A buffer of n random 16-bit floats (bf16, or half): real products take more power than those of zeros, and run
 * slower. */
static void *random_matrix(hyb_cuda *cu, hyb_cuda_queue *q, size_t n, bool bf16)
{
    const size_t piece = 1u << 20;
    uint16_t *host = (uint16_t *)malloc(piece * 2);
    float x;
    uint32_t u;
    size_t i, at;
    void *p;
    if (!host) stop("out of memory");
    TRY(hyb_cuda_alloc(cu, n * 2, &p, ERR));
    for (i = 0; i < piece; i++) {
        x = normal() / 16;
        memcpy(&u, &x, 4);
        host[i] = bf16 ? (uint16_t)(u >> 16) : hyb_f32_to_f16(x);
    }
    for (at = 0; at < n; at += piece)
        hyb_cuda_write(q, (char *)p + at * 2, host, (n - at < piece ? n - at : piece) * 2);
    TRY(hyb_cuda_sync(q, ERR));
    free(host);
    return p;
}

static void measure_gemm(hyb_cuda *cu, hyb_cuda_queue *q, const char *name, bool bf16, int n, int runs)
{
    const int type = bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, y_type = bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_32F,
              each = 10;
    const size_t size = (size_t)n * (size_t)n;
    void *w = random_matrix(cu, q, size, bf16), *x = random_matrix(cu, q, size, bf16), *y;
    double times[MAX_RUNS], t;
    int r, i;
    TRY(hyb_cuda_alloc(cu, size * 4, &y, ERR));
    for (r = -1; r < runs; r++) {
        t = now();
        for (i = 0; i < each; i++) hyb_cuda_gemm(q, type, w, n, x, n, y_type, y, n, n, n, n, false);
        TRY(hyb_cuda_sync(q, ERR));
        if (r >= 0) times[r] = (now() - t) / each;
    }
    printf("{\"what\": \"%s\", \"n\": %d, \"flop\": %.0f, ", name, n, 2.0 * (double)n * (double)size);
    print_times("seconds", times, runs);
    end_line();
    hyb_cuda_free(cu, w);
    hyb_cuda_free(cu, x);
    hyb_cuda_free(cu, y);
}

static int run_ceilings(int copy_mb, int gemm_n)
{
    const int runs = 10, each = 8;
    const size_t bytes = (size_t)copy_mb << 20;
    hyb_cuda *cu;
    hybrid_runtime *rt = open_runtime("", &cu);
    hyb_cuda_queue *q;
    hybrid_error why;
    void *a, *b;
    double times[MAX_RUNS], t;
    int r, i;
    TRY(hyb_cuda_queue_create(cu, &q, ERR));
    TRY(hyb_cuda_alloc(cu, bytes, &a, ERR));
    TRY(hyb_cuda_alloc(cu, bytes, &b, ERR));
    hyb_cuda_zero(q, a, bytes);
    for (r = -1; r < runs; r++) {
        t = now();
        for (i = 0; i < each; i++) hyb_cuda_copy(q, i % 2 ? a : b, i % 2 ? b : a, bytes);
        TRY(hyb_cuda_sync(q, ERR));
        if (r >= 0) times[r] = (now() - t) / each;
    }
    printf("{\"what\": \"copy\", \"bytes_moved\": %.0f, ", 2.0 * (double)bytes); /* read and written */
    print_times("seconds", times, runs);
    end_line();
    hyb_cuda_free(cu, a);
    hyb_cuda_free(cu, b);
    if (hyb_cuda_queue_blas(q, &why)) {
        measure_gemm(cu, q, "gemm_bf16", true, gemm_n, runs);
        measure_gemm(cu, q, "gemm_f16", false, gemm_n, runs);
    } else
        fprintf(stderr, "bench_cuda: no product measured: %s\n", why.message);
    hyb_cuda_queue_destroy(q);
    hybrid_runtime_destroy(rt);
    return 0;
}

/* ---- models of random weights. A tensor is one random piece of rows, again and again: 14 GB are written as fast as
 * the disk takes them. */

typedef struct shape {
    const char *name, *architecture;
    int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_ctx, n_vocab;
    double base;
    bool tied, biases;
} shape;
static const shape shapes[] = { { "qwen2.5-0.5b", "qwen2", 24, 896, 14, 2, 64, 4864, 32768, 151936, 1e6, true, true },
                                { "llama-7b", "llama", 32, 4096, 32, 32, 128, 11008, 8192, 32000, 1e4, false, false },
                                { "tiny", "llama", 2, 256, 4, 2, 64, 512, 512, 512, 1e4, false, false } };

typedef struct making {
    const shape *s;
    hybrid_mix mix;
    hybrid_mix_model model;
    hybrid_gguf_writer *w;
    bool writing; /* tensors are announced first, then written in the same order */
    /* rows that were made, for all layers */
    struct piece {
        hybrid_type type;
        int n_in;
        float mean, deviation;
        char *bytes;
    } pieces[16];
    int n_pieces;
    float *row;
} making;

enum { PIECE_ROWS = 64 };

static const char *piece_of(making *m, hybrid_type type, int n_in, int n_rows, float mean, float deviation)
{
    const size_t row_bytes = hybrid_type_row_bytes(type, (size_t)n_in);
    struct piece *p;
    int r, i;
    for (i = 0; i < m->n_pieces; i++) {
        p = &m->pieces[i];
        if (p->type == type && p->n_in == n_in && p->mean == mean && p->deviation == deviation) return p->bytes;
    }
    if (m->n_pieces == (int)(sizeof m->pieces / sizeof m->pieces[0])) stop("more kinds of tensors than expected");
    p = &m->pieces[m->n_pieces++];
    p->type = type;
    p->n_in = n_in;
    p->mean = mean;
    p->deviation = deviation;
    n_rows = n_rows < PIECE_ROWS ? n_rows : PIECE_ROWS;
    if (!(p->bytes = (char *)calloc(PIECE_ROWS, row_bytes))) stop("out of memory");
    for (r = 0; r < n_rows; r++) {
        for (i = 0; i < n_in; i++) m->row[i] = mean + deviation * normal();
        if (hybrid_quantize(type, m->row, p->bytes + (size_t)r * row_bytes, (size_t)n_in, NULL, NULL))
            stop("a row of random values cannot be quantized");
    }
    return p->bytes;
}

/* n_out 0: a vector of n_in values around mean. */
static void tensor(making *m, const char *format, int layer, int n_in, int n_out, float mean, float deviation)
{
    char name[64];
    uint64_t ne[2];
    hybrid_type type;
    const char *piece;
    size_t row_bytes, left, n;
    snprintf(name, sizeof name, format, layer);
    ne[0] = (uint64_t)n_in;
    ne[1] = (uint64_t)(n_out ? n_out : 1);
    type = n_out ? hybrid_quantize_type_for(m->mix, &m->model, name, 2, ne, HYBRID_TYPE_F16) : HYBRID_TYPE_F32;
    if (!m->writing) {
        TRY(hybrid_gguf_add_tensor(m->w, name, type, n_out ? 2 : 1, ne, ERR));
        return;
    }
    row_bytes = hybrid_type_row_bytes(type, (size_t)n_in);
    piece = piece_of(m, type, n_in, n_out ? n_out : 1, mean, deviation);
    for (left = (size_t)ne[1]; left; left -= n) {
        n = left < PIECE_ROWS ? left : PIECE_ROWS;
        TRY(hybrid_gguf_write(m->w, piece, n * row_bytes, ERR));
    }
}

static void tensors(making *m)
{
    const shape *s = m->s;
    const int q = s->n_head * s->head_dim, kv = s->n_head_kv * s->head_dim, E = s->n_embd, F = s->n_ff;
    /* what is added to the residual stream is damped */
    const float e = 1.0f / sqrtf((float)E), into = 1.0f / sqrtf(2.0f * (float)s->n_layer);
    int i;
    tensor(m, "token_embd.weight", 0, E, s->n_vocab, 0, s->tied ? 0.5f * e : e);
    for (i = 0; i < s->n_layer; i++) {
        tensor(m, "blk.%d.attn_norm.weight", i, E, 0, 1, 0.1f);
        tensor(m, "blk.%d.attn_q.weight", i, E, q, 0, e);
        if (s->biases) tensor(m, "blk.%d.attn_q.bias", i, q, 0, 0, 0.3f);
        tensor(m, "blk.%d.attn_k.weight", i, E, kv, 0, e);
        if (s->biases) tensor(m, "blk.%d.attn_k.bias", i, kv, 0, 0, 0.3f);
        tensor(m, "blk.%d.attn_v.weight", i, E, kv, 0, e);
        if (s->biases) tensor(m, "blk.%d.attn_v.bias", i, kv, 0, 0, 0.3f);
        tensor(m, "blk.%d.attn_output.weight", i, q, E, 0, into / sqrtf((float)q));
        tensor(m, "blk.%d.ffn_norm.weight", i, E, 0, 1, 0.1f);
        tensor(m, "blk.%d.ffn_gate.weight", i, E, F, 0, e);
        tensor(m, "blk.%d.ffn_up.weight", i, E, F, 0, e);
        tensor(m, "blk.%d.ffn_down.weight", i, F, E, 0, into / sqrtf((float)F));
    }
    tensor(m, "output_norm.weight", 0, E, 0, s->tied ? 4.0f : 1.0f, 0.1f);
    if (!s->tied) tensor(m, "output.weight", 0, E, s->n_vocab, 0, e);
}

static void set_key(making *m, const char *name, double value, bool is_float)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->s->architecture, name);
    if (is_float)
        TRY(hybrid_gguf_set_float(m->w, key, HYBRID_GGUF_F32, value, ERR));
    else
        TRY(hybrid_gguf_set_int(m->w, key, HYBRID_GGUF_U32, (int64_t)value, ERR));
}

static int run_make(const char *shape_name, const char *mix, const char *path)
{
    const shape *s = NULL;
    making m;
    double t = now();
    size_t i;
    for (i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (!strcmp(shapes[i].name, shape_name)) s = &shapes[i];
    memset(&m, 0, sizeof m);
    if (!s || !hybrid_mix_find(mix, &m.mix))
        stop("make SHAPE MIX FILE: qwen2.5-0.5b, llama-7b or tiny; F16, Q8_0, Q4_K_M, ...");
    m.s = s;
    m.model.architecture = s->architecture;
    m.model.n_layer = s->n_layer;
    m.model.n_head = s->n_head;
    m.model.n_head_kv = s->n_head_kv;
    m.model.tied_output = s->tied;
    m.row = (float *)malloc(sizeof(float) * 65536);
    if (!m.row) stop("out of memory");
    TRY(hybrid_gguf_writer_create(NULL, &m.w, ERR));
    TRY(hybrid_gguf_set_string(m.w, "general.architecture", s->architecture, ERR));
    TRY(hybrid_gguf_set_string(m.w, "general.name", "random", ERR));
    TRY(hybrid_gguf_set_int(m.w, "general.file_type", HYBRID_GGUF_U32, (int64_t)m.mix, ERR));
    set_key(&m, "block_count", s->n_layer, false);
    set_key(&m, "context_length", s->n_ctx, false);
    set_key(&m, "embedding_length", s->n_embd, false);
    set_key(&m, "feed_forward_length", s->n_ff, false);
    set_key(&m, "attention.head_count", s->n_head, false);
    set_key(&m, "attention.head_count_kv", s->n_head_kv, false);
    set_key(&m, "attention.layer_norm_rms_epsilon", 1e-5, true);
    set_key(&m, "rope.freq_base", s->base, true);
    set_key(&m, "rope.dimension_count", s->head_dim, false);
    set_key(&m, "vocab_size", s->n_vocab, false);
    TRY(hybrid_gguf_set_string(m.w, "tokenizer.ggml.model", "no_vocab", ERR)); /* as llama.cpp calls it */
    tensors(&m);
    TRY(hybrid_gguf_begin_path(m.w, path, ERR));
    m.writing = true;
    tensors(&m);
    TRY(hybrid_gguf_end(m.w, ERR));
    hybrid_gguf_writer_destroy(m.w);
    free(m.row);
    while (m.n_pieces) free(m.pieces[--m.n_pieces].bytes);
    printf("{\"what\": \"make\", \"shape\": \"%s\", \"mix\": \"%s\", \"seconds\": %.3f", shape_name, mix, now() - t);
    end_line();
    return 0;
}

/* ---- a model ----------------------------------------------------------------------------------------------------- */

typedef struct bench {
    hybrid_runtime *rt;
    hyb_cuda *cu;
    hybrid_model *model;
    hybrid_model_info info;
    uint64_t before; /* bytes that the GPU had given away before the model was loaded, ours and others' */
    double open_s, load_s;
    const char *path;
} bench;

static void bench_open(bench *b, const char *path, const char *cache, int n_ctx)
{
    hybrid_model_desc md;
    double t = now();
    memset(b, 0, sizeof *b);
    b->path = path;
    b->rt = open_runtime(cache, &b->cu);
    b->open_s = now() - t;
    b->before = memory_taken(b->cu);
    memset(&md, 0, sizeof md);
    md.path = path;
    md.device_n_ctx = n_ctx;
    t = now();
    TRY(hybrid_model_load(b->rt, &md, &b->model, ERR));
    b->load_s = now() - t;
    hybrid_model_describe(b->model, &b->info);
    if (b->info.n_layer_device != b->info.n_layer) stop("not all layers are on the GPU");
}
static void bench_close(bench *b)
{
    hybrid_model_destroy(b->model);
    hybrid_runtime_destroy(b->rt);
}

static hyb_cuda_backend *backend_of(hybrid_context *ctx)
{
    if (ctx->forward.n_stages != 1 || ctx->forward.stages[0].device->ops->is_host) stop("the context runs on the CPU");
    return (hyb_cuda_backend *)ctx->forward.stages[0].be;
}
/* Launches of the graph that was used last; 0: there is none. */
static uint64_t graph_launches(const hyb_cuda_backend *be)
{
    const hyb_cuda_record *last = NULL;
    int i;
    for (i = 0; i < HYB_CUDA_RECORDS; i++)
        if (be->records[i].graph && (!last || be->records[i].used > last->used)) last = &be->records[i];
    return last ? last->graph->n_launches : 0;
}

static int32_t *random_ids(const bench *b, int n)
{
    int32_t *ids = (int32_t *)malloc(sizeof *ids * (size_t)n);
    int i;
    if (!ids) stop("out of memory");
    for (i = 0; i < n; i++) ids[i] = (int32_t)(rng() % (uint32_t)b->info.n_vocab);
    return ids;
}

static bool sane(const bench *b, const float *logits)
{
    int i;
    float least = 1e30f, most = -1e30f;
    if (!logits) return false;
    for (i = 0; i < b->info.n_vocab; i++) {
        if (!(logits[i] > -1e30f && logits[i] < 1e30f)) return false;
        least = logits[i] < least ? logits[i] : least;
        most = logits[i] > most ? logits[i] : most;
    }
    return most > least;
}

static hybrid_context *bench_context(const bench *b, int n_ctx, int n_seq, int n_batch, hybrid_memory_plan *plan)
{
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_context *ctx;
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = b->path;
    cd.n_ctx = n_ctx;
    cd.n_seq = n_seq;
    cd.n_batch = n_batch;
    if (plan) TRY(hybrid_plan(b->rt, &md, &cd, plan, ERR));
    TRY(hybrid_context_create(b->model, &cd, &ctx, ERR));
    backend_of(ctx);
    return ctx;
}

/* Bytes of weights that a decoded token reads, and multiplications a token: matrices but for an embedding that is
 * only looked up. */
static void weights_of(const bench *b, double *bytes, double *products_layers, double *products_output)
{
    const hybrid_gguf *g = hybrid_model_gguf(b->model);
    bool untied = hybrid_gguf_find_tensor(g, "output.weight") != NULL;
    size_t i;
    *bytes = *products_layers = *products_output = 0;
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        const bool embedding = t->name.size == 17 && !memcmp(t->name.data, "token_embd.weight", 17),
                   output = t->name.size == 13 && !memcmp(t->name.data, "output.weight", 13);
        if (embedding && untied) continue;
        *bytes += (double)t->size;
        if (t->n_dims == 2)
            *(embedding || output ? products_output : products_layers) += (double)t->ne[0] * (double)t->ne[1];
    }
}

static void measure_decode(bench *b, int batch, int n_gen, int runs)
{
    hybrid_context *ctx = bench_context(b, batch * (DEPTH + n_gen + 64), batch, 0, NULL);
    const hyb_cuda_queue *q = backend_of(ctx)->queue;
    int32_t *ids = random_ids(b, batch * (DEPTH + n_gen));
    double times[MAX_RUNS], weights, per_layer, output, t;
    uint64_t launches = 0, graphs = 0, syncs = 0, writes = 0, reads = 0;
    bool good = true;
    int r, i, s;
    weights_of(b, &weights, &per_layer, &output);
    for (s = 0; s < batch; s++) TRY(hybrid_batch_add(ctx, s, ids + s * DEPTH, DEPTH, ERR));
    TRY(hybrid_decode(ctx, ERR));
    for (r = -1; r < runs; r++) { /* the first one loads kernels and records graphs */
        for (s = 0; s < batch; s++) TRY(hybrid_seq_remove(ctx, s, DEPTH, ERR));
        launches = q->n_launches;
        graphs = q->n_graph_launches;
        syncs = q->n_syncs;
        writes = q->n_writes;
        reads = q->n_reads;
        t = now();
        for (i = 0; i < n_gen; i++) {
            for (s = 0; s < batch; s++) TRY(hybrid_batch_add(ctx, s, ids + batch * DEPTH + i * batch + s, 1, ERR));
            TRY(hybrid_decode(ctx, ERR));
        }
        t = now() - t;
        if (r >= 0) times[r] = t / n_gen;
        for (s = 0; s < batch; s++) good = good && sane(b, hybrid_logits(ctx, s));
    }
    backend_of(ctx); /* still on the GPU */
    printf("{\"what\": \"decode\", \"batch\": %d, \"steps\": %d, \"depth\": %d, \"weight_bytes\": %.0f, \"kv_bytes\": "
           "%.0f, \"good\": %s, ",
           batch, n_gen, DEPTH, weights,
           (double)batch * (DEPTH + 0.5 * n_gen) * b->info.n_layer * b->info.n_head_kv * b->info.head_dim * 2 * 2,
           good ? "true" : "false");
    printf("\"launches_in_graph\": %llu, \"launches_outside\": %llu, \"graph_replays\": %llu, \"syncs\": %llu, "
           "\"writes\": %llu, \"reads\": %llu, ",
           (unsigned long long)graph_launches(backend_of(ctx)), (unsigned long long)(q->n_launches - launches),
           (unsigned long long)(q->n_graph_launches - graphs), (unsigned long long)(q->n_syncs - syncs),
           (unsigned long long)(q->n_writes - writes), (unsigned long long)(q->n_reads - reads));
    print_times("seconds_a_step", times, runs);
    end_line();
    free(ids);
    hybrid_context_destroy(ctx);
}

static void measure_prompt(bench *b, int n, int n_batch, int runs)
{
    hybrid_context *ctx = bench_context(b, n + 64, 1, n_batch, NULL);
    int32_t *ids = random_ids(b, n);
    /* 2 products, the half that is not masked */
    double times[MAX_RUNS], weights, per_layer, output, t,
        attention = 2.0 * n * n * b->info.n_head * b->info.head_dim * b->info.n_layer;
    bool good = true;
    int r;
    weights_of(b, &weights, &per_layer, &output);
    for (r = -1; r < runs; r++) {
        TRY(hybrid_seq_remove(ctx, 0, 0, ERR));
        TRY(hybrid_batch_add(ctx, 0, ids, (size_t)n, ERR));
        t = now();
        TRY(hybrid_decode(ctx, ERR));
        t = now() - t;
        if (r >= 0) times[r] = t;
        good = good && sane(b, hybrid_logits(ctx, 0));
    }
    backend_of(ctx);
    printf("{\"what\": \"prompt\", \"n\": %d, \"n_batch\": %d, \"flop\": %.0f, \"good\": %s, ", n, n_batch,
           2 * (per_layer * n + output) + attention, good ? "true" : "false");
    print_times("seconds", times, runs);
    end_line();
    free(ids);
    hybrid_context_destroy(ctx);
}

static int next_number(const char **list)
{
    int n = atoi(*list);
    const char *comma = strchr(*list, ',');
    *list = comma ? comma + 1 : "";
    return n;
}

static int run_model(const char *path, const char *cache, const char *batches, const char *prompts, int n_gen, int runs)
{
    hybrid_memory_plan plan;
    hybrid_context *ctx;
    bench b;
    int n;
    runs = runs < 1 ? 1 : runs > MAX_RUNS ? MAX_RUNS : runs;
    bench_open(&b, path, cache, 512);
    ctx = bench_context(&b, 512, 1, 0, &plan);
    printf("{\"what\": \"memory\", \"planned\": %llu, \"used\": %llu, \"from_driver\": %llu, \"with_driver_overhead\": "
           "%llu, \"allocations\": %u, \"model_bytes\": %llu, \"load_s\": %.4f, ",
           (unsigned long long)plan.device, (unsigned long long)b.cu->arena.used, (unsigned long long)b.cu->arena.total,
           (unsigned long long)(memory_taken(b.cu) - b.before), b.cu->n_device_allocations,
           (unsigned long long)b.info.n_bytes, b.load_s);
    print_text("architecture", b.info.architecture);
    printf("\"layers\": %d, \"parameters\": %llu", b.info.n_layer, (unsigned long long)b.info.n_params);
    end_line();
    hybrid_context_destroy(ctx);
    while (*batches)
        if ((n = next_number(&batches)) > 0) measure_decode(&b, n, n_gen, runs);
    while (*prompts)
        if ((n = next_number(&prompts)) > 0) {
            measure_prompt(&b, n, n < 512 ? n : 512, runs);
            if (n > 512) measure_prompt(&b, n, n, runs);
        }
    if (warnings[0]) {
        printf("{\"what\": \"warnings\", ");
        print_text("text", warnings);
        printf("\"n\": 1");
        end_line();
    }
    bench_close(&b);
    return 0;
}

/* The first token of a prompt, and those after it: each may be the first to need some kernel. */
static int run_first(const char *path, const char *cache, int n_prompt)
{
    enum { TOKENS = 6 };
    bench b;
    hybrid_context *ctx;
    hybrid_context_desc cd;
    int32_t *ids;
    double times[TOKENS], created, t;
    int i;
    bench_open(&b, path, cache, 512);
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 512;
    ids = random_ids(&b, n_prompt + TOKENS);
    t = now();
    TRY(hybrid_context_create(b.model, &cd, &ctx, ERR));
    created = now() - t;
    for (i = 0; i < TOKENS; i++) {
        t = now();
        TRY(hybrid_batch_add(ctx, 0, i ? ids + n_prompt + i : ids, i ? 1 : (size_t)n_prompt, ERR));
        TRY(hybrid_decode(ctx, ERR));
        times[i] = now() - t;
    }
    backend_of(ctx);
    printf("{\"what\": \"first\", \"prompt\": %d, \"compiled\": %u, \"from_cache\": %u, \"open_s\": %.4f, \"load_s\": "
           "%.4f, \"context_s\": %.4f, ",
           n_prompt, b.cu->jit.n_compiled, b.cu->jit.n_from_cache, b.open_s, b.load_s, created);
    print_times("seconds", times, TOKENS);
    end_line();
    free(ids);
    hybrid_context_destroy(ctx);
    bench_close(&b);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "device")) return run_device();
    if (!strcmp(what, "ceilings") && argc == 4) return run_ceilings(atoi(argv[2]), atoi(argv[3]));
    if (!strcmp(what, "make") && argc == 5) return run_make(argv[2], argv[3], argv[4]);
    if (!strcmp(what, "first") && argc == 5) return run_first(argv[2], argv[3], atoi(argv[4]));
    if (!strcmp(what, "model") && argc == 8)
        return run_model(argv[2], argv[3], argv[4], argv[5], atoi(argv[6]), atoi(argv[7]));
    fprintf(stderr, "usage: see the head of tests/bench/bench_cuda.c\n");
    return 2;
}
