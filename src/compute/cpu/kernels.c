/* compute/cpu/kernels: what the CPU back end needs of an instruction set besides matrix products: one table of the row
 * functions that ops.inc lists. cpu/generic.c fills it in scalar C and is the reference; every other table gives the
 * same bits. */
#ifndef HYB_COMPUTE_CPU_KERNELS_C
#define HYB_COMPUTE_CPU_KERNELS_C
#include "../../core/base.c"
#include "../../quant/types.c"
#include "../ops.inc"
#include "../op.c"

#if defined(__GNUC__) || defined(__clang__)
    #define HYB_PREFETCH(p) __builtin_prefetch(p)
#else
    #define HYB_PREFETCH(p) HYB_UNUSED(p)
#endif

/* The compiler leaves what stands before it before, and what stands after it after: the reads and writes of memory,
 * and what waits for them. */
#if defined(__GNUC__) || defined(__clang__)
    #define HYB_IN_ORDER() __asm__ volatile("" ::: "memory")
#else
    #define HYB_IN_ORDER() ((void)0)
#endif

/* Before a loop of known, small length over an array of vectors: without it gcc -O2 leaves the array in memory. */
#if defined(__clang__)
    #define HYB_UNROLL   _Pragma("clang loop unroll(full)")
    #define HYB_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#elif defined(__GNUC__)
    #define HYB_UNROLL   _Pragma("GCC unroll 16")
    #define HYB_UNROLL_4 _Pragma("GCC unroll 4")
#else
    #define HYB_UNROLL
    #define HYB_UNROLL_4
#endif

#ifndef HYBRID_NO_TRAIN
/* A product of gradients: c (m, n) = or += a (m, p) . b (p, n). Every element is summed over p in chunks of
 * HYB_PRODUCT_P, each from zero (NUMERICS.md), so it does not matter how a product is cut. */
typedef struct hyb_product_op {
    int64_t m, n, p;
    const float *a;
    int64_t a_m, a_p; /* floats from one row to the next, and from one column */
    const float *b;   /* or NULL: the rows of w */
    int64_t b_p, b_n; /* one of the two is 1 */
    const hyb_tensor *w;
    float *c;
    int64_t c_m;
    bool add;
    bool a_near;       /* a is little and in a near cache: it is read where it lies */
    hybrid_type round; /* F16, BF16: a and b are rounded to that when they are packed; not with a_near or w */
} hyb_product_op;
enum {
    HYB_PRODUCT_M = 288,      /* rows of a block at most: a multiple of every tile's */
    HYB_PRODUCT_BLOCK = 1024, /* columns of a block at most */
    HYB_PRODUCT_FLOATS = 64,  /* columns that are packed together: with the rows they fit in L2; */
    HYB_PRODUCT_N = HYB_QK_K, /* or a block, at most so many */
    HYB_PRODUCT_P = 256,
    HYB_PRODUCT_SCRATCH = (HYB_PRODUCT_M + HYB_PRODUCT_N) * HYB_PRODUCT_P + 64
};
#endif

typedef struct hyb_cpu_kernels {
#define HYB_KERNEL(name_, parameters_) void(*name_) parameters_;
    HYB_CPU_KERNELS(HYB_KERNEL)
    HYB_CPU_TRAIN_KERNELS(HYB_KERNEL)
#undef HYB_KERNEL
} hyb_cpu_kernels;

enum {
    HYB_ATTENTION_QUERIES = 128, /* of a block at most */
    HYB_ATTENTION_FEW = 16       /* up to this many do not pay for turning a page into floats */
};

/* Where attention keeps what it works on, for one lane. Rows are padded with zeros to a multiple of 32 values. */
typedef struct hyb_attention_scratch {
    float *page_k, *page_k_t, *page_v; /* a page as floats: K (32, dim_k), K transposed (dim_k, 32), V (32, dim_v) */
    float *q, *e, *acc; /* each query's row (dim_k), its scores of a page (32), its running sum of V (dim_v) */
    /* each query's running maximum and sum, and the factor that the new page puts on what came before */
    float *m, *l, *c;
    int dim_k, dim_v; /* padded */
    bool transposed;  /* many queries: whether page_k_t is made and used */
    /* Where the rows of the page in work are read: page_k and page_v, or (few queries) the cache itself; and where
     * those of the next page lie. */
    hybrid_type type;
    const char *k, *v, *next_k, *next_v;
    size_t k_bytes, v_bytes; /* from row to row */
} hyb_attention_scratch;

/* Lays it out in memory (NULL: only counts) and returns its bytes. */
static size_t hyb_attention_layout(hyb_attention_scratch *s, float *memory, int head_dim_k, int head_dim_v)
{
    size_t k = hyb_align((size_t)head_dim_k, 32), v = hyb_align((size_t)head_dim_v, 32), n = HYB_ATTENTION_QUERIES,
           page = HYB_PAGE, at = 0;
    s->dim_k = (int)k;
    s->dim_v = (int)v;
#define HYB_PLACE(name, count) \
    s->name = memory ? memory + at : NULL; \
    at += (count)
    HYB_PLACE(page_k, page * k);
    HYB_PLACE(page_k_t, page * k);
    HYB_PLACE(page_v, page * v);
    HYB_PLACE(q, n * k);
    HYB_PLACE(e, n * page);
    HYB_PLACE(acc, n * v);
    HYB_PLACE(m, n);
    HYB_PLACE(l, n);
    HYB_PLACE(c, n);
#undef HYB_PLACE
    return at * sizeof(float);
}
static size_t hyb_attention_bytes(int head_dim_k, int head_dim_v)
{
    hyb_attention_scratch s;
    return hyb_attention_layout(&s, NULL, head_dim_k, head_dim_v);
}

/* The first position that a row at position pos may see. */
HYB_INLINE int32_t hyb_attention_first(const hyb_op_attention *op, int32_t pos)
{
    return op->window > 0 && pos >= op->window ? pos - op->window + 1 : 0;
}

/* And the last one that a row of the run may. */
HYB_INLINE int32_t hyb_attention_last(const hyb_op_attention *op, const hyb_run *run, int32_t pos)
{
    return op->window == HYB_BOTH_WAYS ? run->pos + run->n_rows - 1 : pos;
}

HYB_INLINE const char *hyb_k_row(const hyb_kv_view *kv, int32_t page, int head, int slot)
{
    return kv->k + (size_t)page * kv->page_bytes_k + ((size_t)head * HYB_PAGE + (size_t)slot) * kv->row_bytes_k;
}
HYB_INLINE const char *hyb_v_row(const hyb_kv_view *kv, int32_t page, int head, int slot)
{
    return kv->v + (size_t)page * kv->page_bytes_v + ((size_t)head * HYB_PAGE + (size_t)slot) * kv->row_bytes_v;
}
#endif
