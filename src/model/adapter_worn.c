/* model/adapter_worn: the copy of an adapter that passes on the host read. A decode step is as long as the bytes that
 * it reads, so the copy has the precision of the matrix that it changes, and not more: F32 over F32; F16 over F16 and
 * BF16; over block types, whose products round x to 8 bits, so many bits of A and B (hybrid_adapter_set_type asks for
 * another). B is turned, so that outputs are in the lanes of a vector (hyb_matmul_low).
 *
 *     worn   [ A of pair 0 (rank, k), if it is not F32 ][ B of pair 0, turned ][ A of pair 1 ] ...
 *
 * F16: each matrix times a power of two that brings its largest value near to the largest half: no value is lost for
 * being small, and one that a half can hold is exact.
 * Q8_0: column j of B times a power of two, so that its largest is between 1/2 and 1, and row j of A by the same; A
 * times a power of two; blocks of 32 along its rows. B: the factor of a panel is its largest value / 127.
 *
 * A pair is copied by the first pass that needs it after its values have changed: a lesson does not pay for a step that
 * nobody reads, and a pass that is cut into slices (hybrid_decode_step) pays for one layer after the other. */
#ifndef HYB_MODEL_ADAPTER_WORN_C
#define HYB_MODEL_ADAPTER_WORN_C
#include "../compute/cpu/kernels.c"
#include "adapter.c"

/* ---- where it is ---- */

static hybrid_type hyb_adapter_worn_type(const hybrid_adapter *a, const hyb_adapter_pair *p)
{
    const hybrid_type type = a->typed ? a->type : p->like;
    return type == HYBRID_TYPE_Q8_0 && p->a.ne[0] % 32 ? HYBRID_TYPE_F16 : type;
}

/* Places the copies of all pairs from base on (NULL: only counts). Returns their bytes. */
static size_t hyb_adapter_worn_layout(hybrid_adapter *a, char *base)
{
    size_t at = 0;
    int32_t i;
    for (i = 0; i < a->n_pairs; i++) {
        hyb_adapter_pair *p = &a->pairs[i];
        const hybrid_type type = hyb_adapter_worn_type(a, p);
        const size_t size = type == HYBRID_TYPE_F32 ? 4 : type == HYBRID_TYPE_F16 ? 2 : 1;
        hyb_tensor worn_a = p->a, worn_b = p->b;
        if (p->a.ne[2] > 1) continue; /* experts read the values themselves */
        worn_a.type = worn_b.type = type;
        worn_a.nb[0] = hybrid_type_block_bytes(type);
        worn_a.nb[1] = hybrid_type_row_bytes(type, (size_t)p->a.ne[0]);
        worn_a.nb[2] = worn_a.nb[3] = worn_a.nb[1] * (size_t)p->rank;
        if (type != HYBRID_TYPE_F32) {
            worn_a.data = base ? base + at : NULL;
            at += hyb_align(worn_a.nb[2], 64);
        }
        worn_b.data = base ? base + at : NULL;
        worn_b.nb[0] = size;
        worn_b.nb[1] = size * (size_t)p->rank;
        worn_b.nb[2] = worn_b.nb[3] =
            hyb_low_scales(type, p->b.ne[1]) + hyb_align((size_t)p->b.ne[1], HYB_LOW_PANEL) * worn_b.nb[1];
        at += hyb_align(worn_b.nb[2], 64);
        if (!base) continue;
        p->worn_a = worn_a;
        p->worn_b = worn_b;
        p->worn_of = 0;
    }
    return at;
}

/* Memory for the copies, in place of that which is there; they are made when they are read. */
static hybrid_result hyb_adapter_worn_room(hybrid_adapter *a, hybrid_error *error)
{
    const size_t bytes = hyb_adapter_worn_layout(a, NULL);
    char *made = (char *)hyb_alloc_aligned(a->rt, bytes);
    if (!made) return hyb_fail_memory(error, bytes);
    hyb_free_aligned(a->rt, a->worn);
    a->worn = made;
    a->worn_bytes = bytes;
    hyb_adapter_worn_layout(a, made);
    return HYBRID_OK;
}

/* ---- what is in it ---- */

enum { HYB_WORN_PIECE = 256 }; /* values that are worked on at a time: whole blocks, and whole rows of panels */

typedef struct hyb_worn_copy {
    const hyb_cpu_kernels *kernels;
    const hyb_adapter_pair *p;
    hybrid_type type;
    float columns[HYBRID_ADAPTER_MAX_RANK]; /* of B: the power of two of each */
    float of_a, of_b;                       /* and that of each matrix */
} hyb_worn_copy;

/* The power of two that brings `most` to 2^(to - 1) or more, but below 2^to; 1 where there is none. */
static float hyb_worn_factor(float most, int to)
{
    int e;
    if (!(most > 0) || most > 3.4e38f) return 1;
    frexp((double)most, &e);
    return (float)ldexp(1, HYB_MAX(HYB_MIN(to - e, 48), -48));
}

static float hyb_worn_largest(float most, const float *values, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) most = fabsf(values[i]) > most ? fabsf(values[i]) : most;
    return most;
}

/* The powers of two. */
static void hyb_worn_factors(hyb_worn_copy *c)
{
    const size_t rank = (size_t)c->p->rank, k = (size_t)c->p->a.ne[0], out = (size_t)c->p->b.ne[1];
    const float *a = (const float *)c->p->a.data, *b = (const float *)c->p->b.data;
    float most = 0;
    size_t o, j;
    for (j = 0; j < rank; j++) c->columns[j] = 0;
    c->of_a = c->of_b = 1;
    if (c->type == HYBRID_TYPE_F16) c->of_b = hyb_worn_factor(hyb_worn_largest(0, b, rank * out), 15);
    for (o = 0; o < out && c->type == HYBRID_TYPE_Q8_0; o++)
        for (j = 0; j < rank; j++) c->columns[j] = hyb_worn_largest(c->columns[j], b + o * rank + j, 1);
    for (j = 0; j < rank; j++) {
        c->columns[j] = hyb_worn_factor(c->columns[j], 0);
        most = HYB_MAX(most, hyb_worn_largest(0, a + j * k, k) / c->columns[j]);
    }
    if (c->type != HYBRID_TYPE_F32) c->of_a = hyb_worn_factor(most, 15);
}

/* Row by row. */
static void hyb_worn_a(const hyb_worn_copy *c)
{
    const int64_t k = c->p->a.ne[0];
    const float *a = (const float *)c->p->a.data;
    char *to = (char *)(uintptr_t)c->p->worn_a.data;
    float scaled[HYB_WORN_PIECE];
    int64_t j, i;
    for (j = 0; j < c->p->rank; j++, a += k, to += c->p->worn_a.nb[1])
        for (i = 0; i < k; i += HYB_WORN_PIECE) {
            const int n = (int)HYB_MIN(k - i, (int64_t)HYB_WORN_PIECE);
            c->kernels->scale(scaled, a + i, c->of_a / c->columns[j], n);
            c->kernels->kv_row(c->type, scaled, to + hybrid_type_row_bytes(c->type, (size_t)i), n);
        }
}

/* n values of a panel, to signed bytes that are multiples of factor. */
static void hyb_worn_bytes(const float *values, float factor, char *to, int n)
{
    const float inverse = factor != 0 ? 1 / factor : 0;
    int i;
    for (i = 0; i < n; i++) {
        const float q = values[i] * inverse + 12582912.0f; /* 1.5 * 2^23: the sum rounds to an integer */
        to[i] = (char)(q >= 12582785.0f && q <= 12583039.0f ? (int)(q - 12582912.0f) : 0);
    }
}

/* A panel: HYB_LOW_PANEL rows of B from o on become its columns. Returns its largest value, of bytes; to NULL: that is
 * all. */
static float hyb_worn_panel(const hyb_worn_copy *c, int64_t o, float factor, char *to)
{
    const int64_t rank = c->p->rank, out = c->p->b.ne[1];
    const float *b = (const float *)c->p->b.data;
    float turned[HYB_WORN_PIECE], most = 0;
    int64_t j, first, i, rows;
    for (first = 0; first < rank; first += rows) {
        int n;
        rows = HYB_MIN(rank - first, (int64_t)(HYB_WORN_PIECE / HYB_LOW_PANEL));
        n = (int)rows * HYB_LOW_PANEL;
        for (j = 0; j < rows; j++)
            for (i = 0; i < HYB_LOW_PANEL; i++)
                turned[j * HYB_LOW_PANEL + i] =
                    o + i < out ? b[(o + i) * rank + first + j] * (c->columns[first + j] * c->of_b) : 0;
        if (!to) {
            most = hyb_worn_largest(most, turned, (size_t)n);
            continue;
        }
        if (c->type == HYBRID_TYPE_Q8_0)
            hyb_worn_bytes(turned, factor, to, n);
        else
            c->kernels->kv_row(c->type, turned, to, n);
        to += (size_t)n * c->p->worn_b.nb[0];
    }
    return most;
}

static void hyb_worn_b(const hyb_worn_copy *c)
{
    const hyb_tensor *b = &c->p->worn_b;
    float *scales = (float *)(uintptr_t)b->data;
    char *to = (char *)(uintptr_t)b->data + hyb_low_scales(c->type, b->ne[1]);
    int64_t o;
    for (o = 0; o < b->ne[1]; o += HYB_LOW_PANEL, to += HYB_LOW_PANEL * b->nb[1]) {
        float factor = 1;
        if (c->type == HYBRID_TYPE_Q8_0) scales[o / HYB_LOW_PANEL] = factor = hyb_worn_panel(c, o, 0, NULL) / 127;
        hyb_worn_panel(c, o, factor, to);
    }
}

static void hyb_adapter_worn_make(hyb_adapter_pair *p, const hyb_cpu_kernels *kernels)
{
    hyb_worn_copy c;
    c.kernels = kernels;
    c.p = p;
    c.type = p->worn_b.type;
    hyb_worn_factors(&c);
    if (c.type != HYBRID_TYPE_F32) hyb_worn_a(&c);
    hyb_worn_b(&c);
    p->worn_scale = 1 / (c.of_a * c.of_b);
}

/* The pair of a matrix, whose copy is what its values are; NULL: there is none. Passes of several threads may ask. */
static const hyb_adapter_pair *hyb_adapter_worn_of(hybrid_adapter *a, hyb_weight w, const hyb_cpu_kernels *kernels)
{
    const int32_t pair = w < a->n_weights ? a->pair_of[w] : 0;
    hyb_adapter_pair *p = pair ? &a->pairs[pair - 1] : NULL;
    if (!p || hyb_atomic_load(&p->worn_of) == hyb_atomic_load(&a->changes)) return p;
    hyb_spin_take(&a->worn_lock);
    if (hyb_atomic_load(&p->worn_of) != hyb_atomic_load(&a->changes)) hyb_adapter_worn_make(p, kernels);
    hyb_atomic_store(&p->worn_of, hyb_atomic_load(&a->changes));
    hyb_spin_give(&a->worn_lock);
    return p;
}
#endif
