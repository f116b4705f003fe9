/* How fast the products of the GPU are: bytes of W a second against what a copy on the device reaches, for 1 to 64
 * rows; TFLOP/s for many.
 * Weights are taken from a ring that is larger than any cache. Every number is the best of five, of some 20 ms each.
 *
 *     cc -O2 -I. -o build/cuda_matmul tests/bench/cuda_matmul.c -lm && build/cuda_matmul [Q4_K ...] */
#define HYBRID_IMPLEMENTATION
#include "../../hybrid.h"
#include "../../hybrid_cuda.h"

enum { RING_BYTES = 512 << 20 };
static hyb_cuda *cu;
static hyb_cuda_queue *queue;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void fail(const hybrid_error *error)
{
    printf("%s\n", error->message);
    exit(1);
}
static void *device_new(size_t bytes)
{
    hybrid_error error;
    void *p = NULL;
    if (hyb_cuda_alloc(cu, bytes, &p, &error)) fail(&error);
    return p;
}
static void wait(void)
{
    hybrid_error error;
    if (hyb_cuda_sync(queue, &error)) fail(&error);
}

typedef struct work {
    hyb_op_matmul op;
    hyb_tensor w;
    char *ring, *scratch;
    size_t bytes, scratch_bytes;
    int turn;
} work;

static void work_step(work *s)
{
    int turns = (int)(RING_BYTES / s->bytes);
    s->w.data = s->ring + (size_t)(s->turn++ % (turns ? turns : 1)) * hyb_align(s->bytes, 256);
    hyb_cuda_matmul(queue, &s->op, s->scratch, s->scratch_bytes);
}

/* Seconds of one product. */
static double measure(work *s)
{
    double best = 1e9, start, each;
    int i, round, count;
    for (i = 0; i < 3; i++) work_step(s);
    wait();
    start = now();
    for (i = 0; i < 10; i++) work_step(s);
    wait();
    each = (now() - start) / 10;
    count = (int)(0.02 / each) + 1;
    for (round = 0; round < 5; round++) {
        start = now();
        for (i = 0; i < count; i++) work_step(s);
        wait();
        each = (now() - start) / count;
        if (each < best) best = each;
    }
    return best;
}

static double copy_bandwidth(char *ring)
{
    double best = 0, start, each;
    int i, round;
    for (round = 0; round < 5; round++) {
        start = now();
        for (i = 0; i < 10; i++) hyb_cuda_copy(queue, ring, ring + RING_BYTES / 2, RING_BYTES / 2);
        wait();
        each = 10.0 * RING_BYTES / (now() - start);
        if (each > best) best = each;
    }
    return best;
}

static void one_type(hybrid_type type, char *ring, double bandwidth)
{
    static const int shape[][2] = { { 896, 896 }, { 4864, 896 }, { 4096, 4096 }, { 14336, 4096 }, { 4096, 14336 } },
                     rows[] = { 1, 2, 8, 16, 32, 64, 512, 2048 };
    int i, j;
    for (i = 0; i < (int)(sizeof shape / sizeof shape[0]); i++) {
        work s;
        int64_t out = shape[i][0], k = shape[i][1];
        float *x, *y;
        if (k % (int64_t)hybrid_type_block_size(type)) continue;
        memset(&s, 0, sizeof s);
        s.w.type = type;
        s.w.ne[0] = k;
        s.w.ne[1] = out;
        s.w.ne[2] = s.w.ne[3] = 1;
        s.w.nb[1] = hybrid_type_row_bytes(type, (size_t)k);
        s.bytes = s.w.nb[1] * (size_t)out;
        s.ring = ring;
        s.scratch_bytes = hyb_cuda_matmul_scratch(type, k, out, 2048, cu->cc);
        s.scratch = (char *)device_new(s.scratch_bytes);
        x = (float *)device_new(2048 * (size_t)k * sizeof *x);
        y = (float *)device_new(2048 * (size_t)out * sizeof *y);
        hyb_cuda_zero(queue, x, 2048 * (size_t)k * sizeof *x);
        s.op.x = x;
        s.op.x_stride = k;
        s.op.n_out = 1;
        s.op.out[0].w = &s.w;
        s.op.out[0].y = y;
        s.op.out[0].y_stride = out;
        printf("| %s | %d x %d |", hybrid_type_name(type), (int)out, (int)k);
        for (j = 0; j < (int)(sizeof rows / sizeof rows[0]); j++) {
            double t;
            s.op.n = rows[j];
            t = measure(&s);
            if (rows[j] <= 64)
                printf(" %.1f us, %.0f %% |", t * 1e6, 100 * (double)s.bytes / t / bandwidth);
            else
                printf(" %.0f us, %.0f TFLOP/s |", t * 1e6, 2e-12 * (double)out * (double)k * rows[j] / t);
            fflush(stdout);
        }
        printf("\n");
        hyb_cuda_free(cu, s.scratch);
        hyb_cuda_free(cu, x);
        hyb_cuda_free(cu, y);
    }
}

int main(int argc, char **argv)
{
    static const hybrid_type types[] = {
        HYBRID_TYPE_F16, HYBRID_TYPE_BF16, HYBRID_TYPE_Q8_0, HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q5_0, HYBRID_TYPE_Q4_K,
        HYBRID_TYPE_Q5_K, HYBRID_TYPE_Q6_K, HYBRID_TYPE_Q2_K, HYBRID_TYPE_Q3_K, HYBRID_TYPE_F32
    };
    hybrid_runtime *rt = NULL;
    hybrid_error error;
    double bandwidth;
    char *ring;
    int t, a;
    if (hybrid_runtime_create(NULL, &rt, &error) || hyb_cuda_open(rt, NULL, &cu, &error) ||
        hyb_cuda_queue_create(cu, &queue, &error))
        fail(&error);
    ring = (char *)device_new((size_t)RING_BYTES + (1 << 20));
    hyb_cuda_zero(queue, ring, (size_t)RING_BYTES + (1 << 20));
    bandwidth = copy_bandwidth(ring);
    printf("%s: copies reach %.2f TB/s (read + write). Time of a product, bytes of W a second in %% of that, or "
           "TFLOP/s.\n\n",
           cu->name, bandwidth * 1e-12);
    printf("| type | W | 1 | 2 | 8 | 16 | 32 | 64 | 512 | 2048 |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (t = 0; t < (int)(sizeof types / sizeof types[0]); t++)
        for (a = 1; a < argc || a == 1; a++)
            if (argc == 1 || !strcmp(argv[a], hybrid_type_name(types[t]))) one_type(types[t], ring, bandwidth);
    hyb_cuda_free(cu, ring);
    hyb_cuda_queue_destroy(queue);
    hyb_cuda_release(cu);
    hybrid_runtime_destroy(rt);
    return 0;
}
