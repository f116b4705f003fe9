/* compute/cpu_kernels: what the CPU back end needs of an instruction set besides matrix products: one table of the row functions that
 * ops.inc lists. cpu_generic.c fills it in scalar C and is the reference; every other table gives the same bits. */

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__PREFETCH(p) __builtin_prefetch(p)
#else
    #define HYBRID__PREFETCH(p) HYBRID__UNUSED(p)
#endif

/* The compiler leaves what stands before it before, and what stands after it after: the reads and writes of memory, and what waits for them. */
#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__IN_ORDER() __asm__ volatile("" ::: "memory")
#else
    #define HYBRID__IN_ORDER() ((void)0)
#endif

/* Before a loop of known, small length over an array of vectors: without it gcc -O2 leaves the array in memory. */
#if defined(__clang__)
    #define HYBRID__UNROLL _Pragma("clang loop unroll(full)")
    #define HYBRID__UNROLL_4 _Pragma("clang loop unroll_count(4)")
#elif defined(__GNUC__)
    #define HYBRID__UNROLL _Pragma("GCC unroll 16")
    #define HYBRID__UNROLL_4 _Pragma("GCC unroll 4")
#else
    #define HYBRID__UNROLL
    #define HYBRID__UNROLL_4
#endif

typedef struct hybrid__cpu_kernels {
#define HYBRID__KERNEL(name_, parameters_) void (*name_) parameters_;
    HYBRID__CPU_KERNELS(HYBRID__KERNEL)
#undef HYBRID__KERNEL
} hybrid__cpu_kernels;

enum {
    HYBRID__ATTENTION_QUERIES = 128,       /* of a block at most */
    HYBRID__ATTENTION_FEW = 16             /* up to this many do not pay for turning a page into floats */
};

/* Where attention keeps what it works on, for one lane. Rows are padded with zeros to a multiple of 32 values. */
typedef struct hybrid__attention_scratch {
    float *page_k, *page_k_t, *page_v;     /* a page as floats: K (32, dim_k), K transposed (dim_k, 32), V (32, dim_v) */
    float *q, *e, *acc;                    /* each query's row (dim_k), its scores of a page (32), its running sum of V (dim_v) */
    float *m, *l, *c;                      /* each query's running maximum and sum, and the factor that the new page puts on what came before */
    int    dim_k, dim_v;                   /* padded */
    bool   transposed;                     /* many queries: whether page_k_t is made and used */
    /* Where the rows of the page in work are read: page_k and page_v, or (few queries) the cache itself; and where those of the next page lie. */
    hybrid_type type;
    const char *k, *v, *next_k, *next_v;
    size_t k_bytes, v_bytes;               /* from row to row */
} hybrid__attention_scratch;

/* Lays it out in memory (NULL: only counts) and returns its bytes. */
static size_t hybrid__attention_layout(hybrid__attention_scratch *s, float *memory, int head_dim_k, int head_dim_v)
{
    size_t k = hybrid__align((size_t)head_dim_k, 32), v = hybrid__align((size_t)head_dim_v, 32), n = HYBRID__ATTENTION_QUERIES, page = HYBRID__PAGE, at = 0;
    s->dim_k = (int)k;
    s->dim_v = (int)v;
#define HYBRID__PLACE(name, count) s->name = memory ? memory + at : NULL; at += (count)
    HYBRID__PLACE(page_k, page * k); HYBRID__PLACE(page_k_t, page * k); HYBRID__PLACE(page_v, page * v);
    HYBRID__PLACE(q, n * k); HYBRID__PLACE(e, n * page); HYBRID__PLACE(acc, n * v);
    HYBRID__PLACE(m, n); HYBRID__PLACE(l, n); HYBRID__PLACE(c, n);
#undef HYBRID__PLACE
    return at * sizeof(float);
}
static size_t hybrid__attention_bytes(int head_dim_k, int head_dim_v)
{
    hybrid__attention_scratch s;
    return hybrid__attention_layout(&s, NULL, head_dim_k, head_dim_v);
}

/* The first position that a row at position pos may see. */
HYBRID__INLINE int32_t hybrid__attention_first(const hybrid__op_attention *op, int32_t pos)
{
    return op->window > 0 && pos >= op->window ? pos - op->window + 1 : 0;
}

HYBRID__INLINE const char *hybrid__k_row(const hybrid__kv_view *kv, int32_t page, int head, int slot)
{
    return kv->k + (size_t)page * kv->page_bytes_k + ((size_t)head * HYBRID__PAGE + (size_t)slot) * kv->row_bytes_k;
}
HYBRID__INLINE const char *hybrid__v_row(const hybrid__kv_view *kv, int32_t page, int head, int slot)
{
    return kv->v + (size_t)page * kv->page_bytes_v + ((size_t)head * HYBRID__PAGE + (size_t)slot) * kv->row_bytes_v;
}
