/* Speed of the CPU back end's float matrices, attention and rows, next to what this machine can do at all, measured in
 * the same run.
 *     cc -O2 -o bench_ops tests/bench_ops.c -lm -lpthread && ./bench_ops [isa] [threads]
 * Best of several rounds each. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"

/* With one thread: the time that it had a core, for the machine may be shared. */
static bool alone;
static double now(void)
{
    struct timespec t;
    clock_gettime(alone ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static hyb_backend *be;
static volatile float sink;

static float *floats(size_t n)
{
    float *p = (float *)malloc(n * sizeof *p + 64);
    uint32_t u = 1;
    size_t i;
    for (i = 0; i < n; i++) {
        u = u * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)u * (1.0f / 2147483648.0f);
    }
    return p;
}

/* ---- roofs ------------------------------------------------------------------------------------------------------- */

#if defined(HYB_X86)
static HYB_TARGET_AVX2 void peak_avx2(void)
{
    /* all different, or they become one */
    __m256 m = _mm256_set1_ps(0.9999f), a = m, b = _mm256_add_ps(a, m), c = _mm256_add_ps(b, m),
           d = _mm256_add_ps(c, m), e = _mm256_add_ps(d, m);
    __m256 f = _mm256_add_ps(e, m), g = _mm256_add_ps(f, m), h = _mm256_add_ps(g, m), k = _mm256_add_ps(h, m),
           l = _mm256_add_ps(k, m);
    int i;
    for (i = 0; i < 100000; i++) {
        a = _mm256_fmadd_ps(a, m, m);
        b = _mm256_fmadd_ps(b, m, m);
        c = _mm256_fmadd_ps(c, m, m);
        d = _mm256_fmadd_ps(d, m, m);
        e = _mm256_fmadd_ps(e, m, m);
        f = _mm256_fmadd_ps(f, m, m);
        g = _mm256_fmadd_ps(g, m, m);
        h = _mm256_fmadd_ps(h, m, m);
        k = _mm256_fmadd_ps(k, m, m);
        l = _mm256_fmadd_ps(l, m, m);
    }
    a = _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)),
                      _mm256_add_ps(_mm256_add_ps(e, f), _mm256_add_ps(g, _mm256_add_ps(h, _mm256_add_ps(k, l)))));
    sink = _mm256_cvtss_f32(a);
}
static HYB_TARGET_AVX512 void peak_avx512(void)
{
    /* all different, or they become one */
    __m512 m = _mm512_set1_ps(0.9999f), a = m, b = _mm512_add_ps(a, m), c = _mm512_add_ps(b, m),
           d = _mm512_add_ps(c, m), e = _mm512_add_ps(d, m);
    __m512 f = _mm512_add_ps(e, m), g = _mm512_add_ps(f, m), h = _mm512_add_ps(g, m), k = _mm512_add_ps(h, m),
           l = _mm512_add_ps(k, m);
    int i;
    for (i = 0; i < 100000; i++) {
        a = _mm512_fmadd_ps(a, m, m);
        b = _mm512_fmadd_ps(b, m, m);
        c = _mm512_fmadd_ps(c, m, m);
        d = _mm512_fmadd_ps(d, m, m);
        e = _mm512_fmadd_ps(e, m, m);
        f = _mm512_fmadd_ps(f, m, m);
        g = _mm512_fmadd_ps(g, m, m);
        h = _mm512_fmadd_ps(h, m, m);
        k = _mm512_fmadd_ps(k, m, m);
        l = _mm512_fmadd_ps(l, m, m);
    }
    a = _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)),
                      _mm512_add_ps(_mm512_add_ps(e, f), _mm512_add_ps(g, _mm512_add_ps(h, _mm512_add_ps(k, l)))));
    sink = _mm512_cvtss_f32(a);
}
static HYB_TARGET_AVX2 void read_all(const char *p, size_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    size_t i;
    for (i = 0; i + 128 <= n; i += 128) {
        a = _mm256_xor_si256(a, _mm256_loadu_si256((const __m256i *)(const void *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32)));
        c = _mm256_xor_si256(c, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 64)));
        d = _mm256_xor_si256(d, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 96)));
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    sink = (float)_mm256_extract_epi32(a, 0);
}
#endif

enum { BIG = 512 << 20 };
static const char *big;
static void peak_chunk(void *arg, int chunk, int lane)
{
    HYB_UNUSED(arg);
    HYB_UNUSED(chunk);
    HYB_UNUSED(lane);
#if defined(HYB_X86)
    if (be->rt->isa == HYB_ISA_AVX512)
        peak_avx512();
    else if (be->rt->isa != HYB_ISA_GENERIC)
        peak_avx2();
#endif
}
static void read_chunk(void *arg, int chunk, int lane)
{
    HYB_UNUSED(arg);
    HYB_UNUSED(lane);
#if defined(HYB_X86)
    if (be->rt->isa != HYB_ISA_GENERIC) read_all(big + (size_t)chunk * (1 << 20), 1 << 20);
#else
    HYB_UNUSED(chunk);
#endif
}

static double peak(void)
{
    double best = 1e9;
    int r;
    for (r = 0; r < 20; r++) {
        double t = now();
        hyb_parallel(be->rt, 8, peak_chunk, NULL);
        t = now() - t;
        best = t < best ? t : best;
    }
    return 8 * 100000.0 * 10 * 2 * (be->rt->isa == HYB_ISA_AVX512 ? 16 : 8) / best * 1e-9;
}
static double bandwidth(void)
{
    double best = 1e9;
    int r;
    for (r = 0; r < 5; r++) {
        double t = now();
        hyb_parallel(be->rt, BIG >> 20, read_chunk, NULL);
        t = now() - t;
        best = t < best ? t : best;
    }
    return BIG / best * 1e-9;
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static void bench_matmul(hybrid_type type, int k, int out, int n, const void *data, int rounds)
{
    hyb_tensor w;
    hyb_op_matmul op;
    hyb_limits limits;
    hyb_backend *mine;
    float *x = floats((size_t)k * (size_t)n), *y = floats((size_t)out * (size_t)n);
    double best = 1e9, t, roof;
    int r;
    memset(&w, 0, sizeof w);
    memset(&op, 0, sizeof op);
    memset(&limits, 0, sizeof limits);
    w.type = type;
    w.ne[0] = k;
    w.ne[1] = out;
    w.nb[1] = hybrid_type_row_bytes(type, (size_t)k);
    w.data = data;
    limits.n_rows = n;
    hyb_cpu_limits_matrix(be->rt, &limits, &w);
    hyb_cpu_backend_create(be->rt, &limits, &mine, NULL);
    op.x = x;
    op.x_stride = k;
    op.n = n;
    op.n_out = 1;
    op.out[0].w = &w;
    op.out[0].y = y;
    op.out[0].y_stride = out;
    roof = n == 1 ? bandwidth() : peak();
    for (r = 0; r < rounds; r++) {
        t = now();
        hyb_do_matmul(mine, &op);
        t = now() - t;
        best = t < best ? t : best;
    }
    if (n == 1)
        printf("  %-4s k %5d out %6d       : %7.1f GB/s     %3.0f %% of reading\n", hybrid_type_name(type), k, out,
               (double)w.nb[1] * out / best * 1e-9, (double)w.nb[1] * out / best * 1e-7 / roof);
    else
        printf("  %-4s k %5d out %6d n %4d: %7.1f GFLOP/s  %3.0f %% of FMA peak\n", hybrid_type_name(type), k, out, n,
               2.0 * k * out * n / best * 1e-9, 2.0 * k * out * n / best * 1e-7 / roof);
    mine->ops->destroy(mine);
    free(x);
    free(y);
}

static void bench_attention(hybrid_type type, int heads, int heads_kv, int dim, int length, int rows, int rounds)
{
    hyb_kv_view kv;
    hyb_op_attention op;
    hyb_op_kv_store store;
    hyb_run run, all;
    hyb_batch batch, batch_all;
    int32_t *pages = (int32_t *)malloc(sizeof(int32_t) * (size_t)(length / 32 + 1));
    float *q = floats((size_t)rows * (size_t)(heads * dim)), *k = floats((size_t)length * (size_t)(heads_kv * dim)),
          *out = floats((size_t)rows * (size_t)(heads * dim));
    double best = 1e9, t, work = 0, roof = rows == 1 ? bandwidth() : peak();
    int r;
    memset(&kv, 0, sizeof kv);
    memset(&op, 0, sizeof op);
    for (r = 0; r <= length / 32; r++) pages[r] = r;
    kv.type = type;
    kv.n_head_kv = heads_kv;
    kv.head_dim_k = kv.head_dim_v = dim;
    kv.row_bytes_k = kv.row_bytes_v = hybrid_type_row_bytes(type, (size_t)dim);
    kv.page_bytes_k = kv.page_bytes_v = kv.row_bytes_k * 32 * (size_t)heads_kv;
    kv.k = (char *)malloc(kv.page_bytes_k * (size_t)(length / 32 + 1));
    kv.v = (char *)malloc(kv.page_bytes_v * (size_t)(length / 32 + 1));
    all.first_row = 0;
    all.n_rows = length;
    all.pos = 0;
    all.pages = pages;
    store.kv = &kv;
    store.k = store.v = k;
    store.k_stride = store.v_stride = heads_kv * dim;
    memset(&batch, 0, sizeof batch);
    memset(&batch_all, 0, sizeof batch_all);
    batch_all.runs = &all;
    batch_all.n_runs = 1;
    batch_all.n = length;
    batch.runs = &run;
    batch.n_runs = 1;
    batch.n = rows;
    be->ops->begin(be, &batch_all);
    hyb_do_kv_store(be, &store);
    run.first_row = 0;
    run.n_rows = rows;
    run.pos = length - rows;
    run.pages = pages;
    op.kv = &kv;
    op.q = q;
    op.q_stride = op.out_stride = heads * dim;
    op.out = out;
    op.n_head = heads;
    op.scale = 1.0f / sqrtf((float)dim);
    be->ops->begin(be, &batch);
    for (r = 0; r < rounds; r++) {
        t = now();
        hyb_do_attention(be, &op);
        t = now() - t;
        best = t < best ? t : best;
    }
    for (r = 0; r < rows; r++) work += 4.0 * heads * dim * (run.pos + r + 1);
    if (rows == 1) {
        double bytes = 2.0 * length * heads_kv * (double)kv.row_bytes_k;
        printf("  %-4s %2d/%2d heads of %3d, 1 row at %5d     : %7.1f GB/s     %3.0f %% of reading\n",
               hybrid_type_name(type), heads, heads_kv, dim, length, bytes / best * 1e-9, bytes / best * 1e-7 / roof);
    } else
        printf("  %-4s %2d/%2d heads of %3d, %4d rows to %5d : %7.1f GFLOP/s  %3.0f %% of FMA peak\n",
               hybrid_type_name(type), heads, heads_kv, dim, rows, length, work / best * 1e-9,
               work / best * 1e-7 / roof);
    free(pages);
    free(q);
    free(k);
    free(out);
    free(kv.k);
    free(kv.v);
}

static void bench_rows(int n, int rows)
{
    float *x = floats((size_t)n * (size_t)rows), *y = floats((size_t)n * (size_t)rows), *w = floats((size_t)n);
    int kind, r;
    static const char *const names[] = { "rms norm", "layer norm", "silu glu",  "gelu glu", "gelu_tanh glu",
                                         "add",      "softcap",    "rope neox", "rope norm" };
    for (kind = 0; kind < 9; kind++) {
        double best = 1e9;
        for (r = 0; r < 30; r++) {
            double t = now();
            hyb_op_norm norm;
            hyb_op_glu glu;
            hyb_op_rope rope;
            hyb_op_add add;
            hyb_op_softcap cap;
            add.a = add.out = cap.out = y;
            add.b = x;
            cap.x = y;
            cap.cap = 30;
            add.n = cap.n = (int64_t)n * rows;
            norm.kind = kind == 0 ? HYB_NORM_RMS : HYB_NORM_LAYER;
            norm.x = x;
            norm.out = y;
            norm.x_stride = norm.out_stride = n;
            norm.w = w;
            norm.b = NULL;
            norm.n_rows = rows;
            norm.n_group = 1;
            norm.n = n;
            norm.eps = 1e-5f;
            glu.act = kind == 2 ? HYB_ACT_SILU : kind == 3 ? HYB_ACT_GELU : HYB_ACT_GELU_TANH;
            glu.gate = x;
            glu.up = x;
            glu.out = y;
            glu.gate_stride = glu.up_stride = glu.out_stride = n;
            glu.n_rows = rows;
            glu.n = n;
            rope.kind = kind == 7 ? HYB_ROPE_NEOX : HYB_ROPE_NORM;
            rope.x = rope.out = y;
            rope.x_stride = rope.out_stride = n;
            rope.n = rows;
            rope.n_head = n / 64;
            rope.head_dim = rope.n_rot = 64;
            rope.table = x;
            if (kind < 2)
                hyb_do_norm(be, &norm);
            else if (kind < 5)
                hyb_do_glu(be, &glu);
            else if (kind == 5)
                hyb_do_add(be, &add);
            else if (kind == 6)
                hyb_do_softcap(be, &cap);
            else
                hyb_do_rope(be, &rope);
            t = now() - t;
            best = t < best ? t : best;
        }
        printf("  %-14s %5d x %4d: %6.3f ns a value\n", names[kind], n, rows, best * 1e9 / ((double)n * rows));
    }
    free(x);
    free(y);
    free(w);
}

/* The recurrent ops, one run of `rows` rows. RWKV-7's: 5 operations that an FMA can do for every value of M and row. */
static void bench_recurrent(int n, int size, int rows)
{
    enum { KINDS = 3 };
    static const char *const names[KINDS] = { "token shift", "wkv7", "short conv" };
    float *x = floats((size_t)n * 7 * (size_t)rows), *y = floats((size_t)n * 6 * (size_t)rows);
    float *w = floats((size_t)n * 16), *slots = floats((size_t)n * (size_t)size);
    hyb_op_shift shift;
    hyb_op_wkv7 wkv;
    hyb_op_shortconv conv;
    hyb_batch batch;
    hyb_run run;
    int kind, r;
    memset(&shift, 0, sizeof shift);
    memset(&wkv, 0, sizeof wkv);
    memset(&conv, 0, sizeof conv);
    memset(&batch, 0, sizeof batch);
    memset(&run, 0, sizeof run);
    run.n_rows = batch.n = rows;
    batch.runs = &run;
    batch.n_runs = 1;
    shift.x = x;
    shift.mix = w;
    shift.n_mix = 6;
    shift.n_embd = n;
    shift.out = y;
    shift.plane = (int64_t)n * rows;
    conv.bcx = x;
    conv.bcx_stride = 3 * n;
    conv.w = w;
    conv.n_taps = 3;
    conv.n_embd = n;
    conv.out = y;
    conv.out_stride = n;
    wkv.r = x;
    wkv.k = x + n;
    wkv.v = x + 2 * n;
    wkv.decay = x + 3 * n;
    wkv.rate = x + 4 * n;
    wkv.value_gate = x + 5 * n;
    wkv.gate = x + 6 * n;
    wkv.stride = 7 * n;
    wkv.v_first = x;
    wkv.v_first_stride = 7 * n;
    wkv.k_k = w;
    wkv.k_a = w + n;
    wkv.r_k = w + 2 * n;
    wkv.ln_w = w;
    wkv.ln_b = w;
    wkv.eps = 64e-5f;
    wkv.n_head = n / size;
    wkv.size = size;
    wkv.out = y;
    wkv.out_stride = n;
    shift.slots.data = conv.slots.data = wkv.slots.data = slots;
    be->ops->begin(be, &batch);
    for (kind = 0; kind < KINDS; kind++) {
        double best = 1e9, rate;
        for (r = 0; r < 30; r++) {
            double t = now();
            if (kind == 0)
                hyb_do_shift(be, &shift);
            else if (kind == 1)
                hyb_do_wkv7(be, &wkv);
            else
                hyb_do_shortconv(be, &conv);
            t = now() - t;
            best = t < best ? t : best;
        }
        printf("  %-14s %5d x %4d: %8.2f us a row", names[kind], n, rows, best * 1e6 / rows);
        rate = 10.0 * n * size * rows / best / 1e9;
        if (kind == 1)
            printf(", %.0f rows of a head/s, %.1f GFLOP/s, %.0f%% of the FMA peak", 1.0 * rows * n / size / best, rate,
                   100 * rate / peak());
        printf("\n");
    }
    free(x);
    free(y);
    free(w);
    free(slots);
}

int main(int argc, char **argv)
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    hyb_limits limits;
    uint16_t *half;
    size_t i;
    memset(&desc, 0, sizeof desc);
    memset(&limits, 0, sizeof limits);
    desc.isa = argc > 1 ? argv[1] : NULL;
    desc.n_threads = argc > 2 ? atoi(argv[2]) : 1;
    alone = desc.n_threads == 1;
    if (hybrid_runtime_create(&desc, &rt, NULL)) return 1;
    limits.n_rows = 1;
    limits.head_dim_k = limits.head_dim_v = 256;
    if (hyb_cpu_backend_create(rt, &limits, &be, NULL)) return 1;
    half = (uint16_t *)malloc(BIG);
    for (i = 0; i < BIG / 2; i++) half[i] = (uint16_t)(0x2C00 + i % 1000);
    big = (const char *)half;
    printf("%s, %d threads: FMA peak %.1f GFLOP/s, reading %.1f GB/s\n", hybrid_runtime_isa(rt),
           hybrid_runtime_threads(rt), peak(), bandwidth());
    if (argc > 3) {
        bench_recurrent(2048, 64, 512);
        bench_recurrent(2048, 64, 1);
        return 0;
    }
    printf("prefill\n");
    bench_matmul(HYBRID_TYPE_F16, 896, 4864, 512, half, 4);
    bench_matmul(HYBRID_TYPE_F16, 2048, 2048, 512, half, 4);
    bench_matmul(HYBRID_TYPE_F16, 8192, 2048, 512, half, 2);
    bench_matmul(HYBRID_TYPE_BF16, 2048, 2048, 512, half, 4);
    bench_matmul(HYBRID_TYPE_F32, 2048, 2048, 512, half, 4);
    bench_matmul(HYBRID_TYPE_F16, 2048, 2048, 64, half, 10);
    bench_matmul(HYBRID_TYPE_F16, 2048, 2048, 16, half, 10);
    bench_matmul(HYBRID_TYPE_F16, 2048, 2048, 4, half, 10);
    bench_matmul(HYBRID_TYPE_F16, 2048, 2048, 3, half, 10);
    printf("decode\n");
    bench_matmul(HYBRID_TYPE_F16, 896, BIG / 2 / 896, 1, half, 5);
    bench_matmul(HYBRID_TYPE_F16, 2048, BIG / 2 / 2048, 1, half, 5);
    bench_matmul(HYBRID_TYPE_F16, 8192, BIG / 2 / 8192, 1, half, 5);
    bench_matmul(HYBRID_TYPE_BF16, 2048, BIG / 2 / 2048, 1, half, 5);
    bench_matmul(HYBRID_TYPE_F32, 2048, BIG / 4 / 2048, 1, half, 5);
    printf("attention\n");
    bench_attention(HYBRID_TYPE_F16, 32, 8, 64, 512, 512, 5);
    bench_attention(HYBRID_TYPE_F16, 32, 8, 64, 4096, 512, 3);
    bench_attention(HYBRID_TYPE_F16, 16, 16, 128, 2048, 512, 3);
    bench_attention(HYBRID_TYPE_Q8_0, 32, 8, 128, 2048, 512, 3);
    bench_attention(HYBRID_TYPE_F16, 32, 8, 64, 16384, 1, 5);
    bench_attention(HYBRID_TYPE_F16, 32, 8, 128, 16384, 1, 5);
    bench_attention(HYBRID_TYPE_F16, 16, 16, 128, 16384, 1, 5);
    bench_attention(HYBRID_TYPE_F16, 14, 2, 64, 16384, 1, 5);
    bench_attention(HYBRID_TYPE_Q8_0, 32, 8, 128, 16384, 1, 5);
    printf("rows\n");
    bench_rows(2048, 512);
    printf("recurrent\n");
    bench_recurrent(2048, 64, 512);
    bench_recurrent(2048, 64, 1);
    be->ops->destroy(be);
    hybrid_runtime_destroy(rt);
    free(half);
    return 0;
}
