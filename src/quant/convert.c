/* quant/convert: whole matrices from one type to another, by all threads of a runtime. */
#ifndef HYB_QUANT_CONVERT_C
#define HYB_QUANT_CONVERT_C
#include "../core/lifetime.c"
#include "types.c"

typedef struct hyb_convert {
    const hyb_type_traits *from, *to;
    const char *src;
    char *dst;
    size_t src_row, dst_row;          /* bytes */
    size_t row, n_rows, rows_a_chunk; /* values, rows */
    const float *importance;
    float *scratch;            /* a row a lane */
    volatile uint64_t damaged; /* rows with NaN or infinity that blocks cannot hold */
} hyb_convert;

static void hyb_convert_chunk(void *arg, int chunk, int lane)
{
    hyb_convert *c = (hyb_convert *)arg;
    size_t r = (size_t)chunk * c->rows_a_chunk, end = HYB_MIN(r + c->rows_a_chunk, c->n_rows);
    float *values = c->scratch + (size_t)lane * c->row;
    for (; r < end; r++) {
        c->from->dequantize_row(c->src + r * c->src_row, values, c->row);
        if (c->to->block_size > 1 && hyb_not_finite(values, c->row) < c->row) hyb_atomic_add(&c->damaged, 1);
        c->to->quantize_row(values, c->dst + r * c->dst_row, c->row, c->importance);
    }
}

HYB_BORDER(hybrid_result, hybrid_convert,
           (hybrid_runtime *runtime, hybrid_type from, const void *src, hybrid_type to, void *dst, size_t n_rows,
            size_t row, const float *importance, hybrid_error *error),
           (runtime, from, src, to, dst, n_rows, row, importance, error))
{
    hyb_convert c;
    hybrid_runtime *rt;
    hybrid_result r;
    size_t bytes, i;
    memset(&c, 0, sizeof c);
    c.from = hyb_type_info(from);
    c.to = hyb_type_info(to);
    if (!c.from || !c.to)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: %d is not a type that hybrid knows",
                        (int)(c.from ? to : from));
    if (row % c.from->block_size || row % c.to->block_size)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_convert: rows of %llu values do not divide into blocks of %s and %s",
                        (unsigned long long)row, c.from->name, c.to->name);
    if (!n_rows || !row) return HYBRID_OK;
    if (!src || !dst || (c.from->block_size > 1 && (uintptr_t)src % 2) || (c.to->block_size > 1 && (uintptr_t)dst % 2))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: src or dst is NULL or an odd address");
    for (i = 0; importance && i < row; i++)
        if (!(importance[i] >= 0 && importance[i] < INFINITY))
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: importance %llu is negative or no number",
                            (unsigned long long)i);
    if ((r = hyb_runtime_retain(runtime, &rt, error))) return r;
    c.src = (const char *)src;
    c.dst = (char *)dst;
    c.src_row = hybrid_type_row_bytes(from, row);
    c.dst_row = hybrid_type_row_bytes(to, row);
    c.row = row;
    c.n_rows = n_rows;
    c.rows_a_chunk = n_rows / 1024 + 1;
    c.importance = importance;
    if (!hyb_mul_size(row, (size_t)hyb_lanes(rt), &bytes) || !hyb_mul_size(bytes, sizeof(float), &bytes))
        bytes = SIZE_MAX;
    c.scratch = bytes == SIZE_MAX ? NULL : (float *)hyb_alloc(rt, bytes);
    if (!c.scratch) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, bytes);
    }
    hyb_parallel(rt, (int)((n_rows + c.rows_a_chunk - 1) / c.rows_a_chunk), hyb_convert_chunk, &c);
    hyb_free(rt, c.scratch);
    hyb_runtime_release(rt);
    if (c.damaged)
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "%llu of %llu rows hold NaN or infinity, which %s cannot: the source is damaged",
                        (unsigned long long)c.damaged, (unsigned long long)n_rows, c.to->name);
    return HYBRID_OK;
}
#endif
