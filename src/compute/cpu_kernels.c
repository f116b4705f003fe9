/* compute/cpu_kernels: what the CPU back end needs of an instruction set besides matrix products: one table of row functions, in the order of
 * NUMERICS.md. cpu_generic.c fills it in scalar C and is the reference; every other table gives the same bits. */

typedef struct hybrid__cpu_kernels {
    void (*norm)(const hybrid__op_norm *op, int64_t row);
    void (*rope)(const hybrid__op_rope *op, int row);
    void (*glu)(hybrid__act_kind act, const float *gate, const float *up, float *out, int64_t n);      /* up may be NULL, out may be either */
    void (*add)(float *y, const float *x, int64_t n);
    void (*add_scaled)(float *y, const float *x, float factor, int64_t n);                             /* y += x * factor, each rounded */
    void (*scale)(float *y, float factor, int64_t n);
    void (*softcap)(float *y, float cap, int64_t n);
    void (*kv_row)(hybrid_type type, const float *x, void *row, int n);                                /* one head's row, to the cache's type */
    /* Rows row0 .. row0 + n_rows of a run, query heads head0 .. head0 + n_heads of one kv head; n_rows * n_heads <= HYBRID__ATTENTION_QUERIES.
     * scratch: hybrid__attention_bytes, aligned to 64. */
    void (*attention)(const hybrid__op_attention *op, const hybrid__run *run, int row0, int n_rows, int head0, int n_heads, void *scratch);
} hybrid__cpu_kernels;

enum { HYBRID__ATTENTION_QUERIES = 64 };

/* A page of K and one of V as floats, and for every query the scores of a page, its running sum of V, and two numbers. */
static size_t hybrid__attention_bytes(int head_dim_k, int head_dim_v)
{
    size_t k = hybrid__align((size_t)head_dim_k, 32), v = hybrid__align((size_t)head_dim_v, 32);
    return sizeof(float) * (2 * HYBRID__PAGE * k + HYBRID__PAGE * v + HYBRID__ATTENTION_QUERIES * (HYBRID__PAGE + v + 2));
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
