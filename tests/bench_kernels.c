/* What the matrix kernels of this machine reach: decode in GB/s of weights against a plain read loop, prefill in GOP/s
 * (2 x multiply-add) against the instruction that does the products. Usage: bench_kernels [isa] [k] [megabytes of
 * weights]. Numbers of one run only compare with each other. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include <stdio.h>

#define TYPE_ID(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
static const hybrid_type types[] = { HYB_TYPES(TYPE_ID) };
static volatile uint64_t sink;

/* ---- the roofs --------------------------------------------------------------------------------------------------- */
typedef struct read_job {
    const char *p;
    size_t n;
    int chunks;
} read_job;
#if defined(HYB_X86)
HYB_TARGET_AVX2 static uint64_t read_bytes(const char *p, size_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    size_t i;
    for (i = 0; i + 128 <= n; i += 128) {
        a = _mm256_add_epi32(a, _mm256_loadu_si256((const __m256i *)(const void *)(p + i)));
        b = _mm256_add_epi32(b, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32)));
        c = _mm256_add_epi32(c, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 64)));
        d = _mm256_add_epi32(d, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 96)));
    }
    a = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    return (uint64_t)_mm256_extract_epi64(a, 0) + (uint64_t)_mm256_extract_epi64(a, 2);
}
HYB_TARGET_AVX512 static double vnni_gops(void)
{
    uint64_t t = hyb_now_us();
    __m512i a[8], x = _mm512_set1_epi8(1), z = _mm512_setzero_si512();
    int i;
    a[0] = a[1] = a[2] = a[3] = a[4] = a[5] = a[6] = a[7] = z;
    for (i = 0; i < 2000000; i++) {
        a[0] = _mm512_dpbusd_epi32(a[0], x, x);
        a[1] = _mm512_dpbusd_epi32(a[1], x, x);
        a[2] = _mm512_dpbusd_epi32(a[2], x, x);
        a[3] = _mm512_dpbusd_epi32(a[3], x, x);
        a[4] = _mm512_dpbusd_epi32(a[4], x, x);
        a[5] = _mm512_dpbusd_epi32(a[5], x, x);
        a[6] = _mm512_dpbusd_epi32(a[6], x, x);
        a[7] = _mm512_dpbusd_epi32(a[7], x, x);
        __asm__ volatile(""
                         : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(a[4]), "+v"(a[5]), "+v"(a[6]),
                           "+v"(a[7]));
    }
    for (i = 0; i < 8; i++) sink += (uint64_t)_mm512_reduce_add_epi32(a[i]);
    return 2000000.0 * 8 * 128 / (double)(hyb_now_us() - t) / 1e3;
}
#else
static uint64_t read_bytes(const char *p, size_t n)
{
    uint64_t s = 0;
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) s += hyb_load_u64(p + i);
    return s;
}
#endif
static void read_chunk(void *arg, int chunk, int lane)
{
    read_job *job = (read_job *)arg;
    size_t n = job->n / (size_t)job->chunks;
    (void)lane;
    sink += read_bytes(job->p + n * (size_t)chunk, n);
}

/* Best seconds of one product, and (decode) of one plain read of the same bytes, alternated. */
static double best_of(hybrid_runtime *rt, hyb_isa isa, void *scratch, const hyb_op_matmul *op, double budget,
                      double *best_read)
{
    double best = 1e9, spent = 0, t;
    read_job job;
    uint64_t start;
    job.p = (const char *)op->out[0].w->data;
    job.n = op->out[0].w->nb[1] * (size_t)op->out[0].w->ne[1];
    job.chunks = (int)(job.n / (256 << 10)) + 1;
    while (spent < budget) {
        start = hyb_now_us();
        hyb_matmul_run(rt, isa, scratch, op);
        t = (double)(hyb_now_us() - start) * 1e-6;
        best = HYB_MIN(best, t);
        spent += t;
        if (!best_read) continue;
        start = hyb_now_us();
        hyb_parallel(rt, job.chunks, read_chunk, &job);
        t = (double)(hyb_now_us() - start) * 1e-6;
        *best_read = HYB_MIN(*best_read, t);
        spent += t;
    }
    return best;
}

static void bench_type(hybrid_runtime *rt[2], hyb_isa isa, hybrid_type type, int64_t k, size_t megabytes)
{
    enum { N = 512 };
    hyb_op_matmul op;
    hyb_tensor w;
    size_t i, row = hybrid_type_row_bytes(type, (size_t)k), bytes;
    float *x, *y;
    char *data;
    void *scratch;
    int threads, at_n;
    static const int ns[] = { 2, 4, 8, 16, 64, 512 };
    if (!hyb_matmul_kernel_for(isa, type) || !row) return;
    memset(&op, 0, sizeof op);
    memset(&w, 0, sizeof w);
    w.type = type;
    w.ne[0] = k;
    w.ne[1] = (int64_t)(megabytes << 20) / (int64_t)row;
    w.ne[2] = w.ne[3] = 1;
    w.nb[1] = row;
    data = (char *)hyb_alloc_aligned(rt[0], row * (size_t)w.ne[1]);
    for (i = 0; i < row * (size_t)w.ne[1]; i++) data[i] = (char)((i * 2654435761u) >> 13 & 0x3F);
    w.data = data;
    x = (float *)hyb_alloc(rt[0], (size_t)k * N * sizeof *x);
    y = (float *)hyb_alloc(rt[0], (size_t)HYB_MAX(w.ne[1], 4096) * N * sizeof *y);
    for (i = 0; i < (size_t)k * N; i++) /* in a bell, as activations are */
        x[i] = (float)((i * 7919) % 1000 + (i * 104729) % 997 + (i * 1299709) % 991) / 1494.0f - 1.0f;
    op.x = x;
    op.x_stride = k;
    op.n_out = 1;
    op.out[0].w = &w;
    op.out[0].y = y;
    printf("%-5s", hybrid_type_name(type));
    for (threads = 0; threads < 2; threads++) {
        double read = 1e9, best, cached;
        int64_t rows = w.ne[1];
        op.n = 1;
        op.out[0].y_stride = rows;
        bytes = hyb_matmul_bytes(isa, 2, &op);
        scratch = hyb_alloc_aligned(rt[0], bytes);
        best = best_of(rt[threads], isa, scratch, &op, 0.4, &read);
        w.ne[1] = (256 << 10) / (int64_t)row;
        cached = best_of(rt[threads], isa, scratch, &op, 0.05, NULL);
        printf(" | %5.1f (%3.0f%%) L2 %5.1f", (double)row * (double)rows / best / 1e9, 100 * read / best,
               (double)row * (double)w.ne[1] / cached / 1e9);
        w.ne[1] = rows;
        hyb_free_aligned(rt[0], scratch);
    }
    w.ne[1] = HYB_MIN(2048, w.ne[1]);
    op.out[0].y_stride = w.ne[1];
    printf(" |");
    for (at_n = 0; at_n < (int)HYB_COUNT(ns); at_n++)
        for (threads = 0; threads < 2; threads++) {
            if (threads == 1 && ns[at_n] != 512) continue;
            op.n = ns[at_n];
            bytes = hyb_matmul_bytes(isa, 2, &op);
            scratch = hyb_alloc_aligned(rt[0], bytes);
            printf(" %5.0f",
                   2.0 * (double)k * (double)w.ne[1] * op.n / best_of(rt[threads], isa, scratch, &op, 0.1, NULL) / 1e9);
            hyb_free_aligned(rt[0], scratch);
        }
    printf("\n");
    hyb_free(rt[0], x);
    hyb_free(rt[0], y);
    hyb_free_aligned(rt[0], data);
}

int main(int argc, char **argv)
{
    hybrid_runtime *rt[2];
    hybrid_runtime_desc desc;
    hyb_isa isa;
    int64_t k = argc > 2 ? atoi(argv[2]) : 2048;
    int t;
    memset(&desc, 0, sizeof desc);
    desc.isa = argc > 1 && strcmp(argv[1], "best") ? argv[1] : NULL;
    for (t = 0; t < 2; t++) {
        desc.n_threads = t + 1;
        if (hybrid_runtime_create(&desc, &rt[t], NULL)) return 1;
    }
    isa = rt[0]->isa;
    printf("isa %s, k %d\n", hyb_isa_name(isa), (int)k);
#if defined(HYB_X86)
    if (isa == HYB_ISA_AVX512) printf("vpdpbusd: %.0f GOP/s a thread\n", vnni_gops());
#endif
    printf("type  | decode T1 GB/s (%% of read)   | decode T2                   | prefill GOP/s T1, n = 2 4 8 16 64 "
           "512, and T2 n = 512\n");
    for (t = 0; t < (int)HYB_COUNT(types); t++)
        bench_type(rt, isa, types[t], k, argc > 3 ? (size_t)atoi(argv[3]) : 200);
    for (t = 0; t < 2; t++) hybrid_runtime_destroy(rt[t]);
    return 0;
}
