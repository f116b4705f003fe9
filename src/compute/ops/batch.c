/* compute/ops/batch: tensors, and the batch: the rows that go through a model together, and whose they are. */
#ifndef HYB_COMPUTE_OPS_BATCH_C
#define HYB_COMPUTE_OPS_BATCH_C
#include "../../api/quant.h"
#include "../../core/macros.h"

typedef struct hyb_tensor {
    const char *name;
    hybrid_type type;
    int64_t ne[4];        /* sizes; ne[0] is contiguous. A matrix W[out][in] has ne = { in, out, 1, 1 } */
    size_t nb[4];         /* byte strides; nb[1] = bytes of a row */
    const void *data;     /* NULL: no such tensor */
    const void *repacked; /* NULL, or those rows that make groups of 8 once more, as decode on the host likes them
                             (int/repack.c) */
    bool is_vector;       /* added or multiplied value by value: no matrix of one row, which products read */
    uint32_t source;      /* of a weight: which tensor of its file it is */
    int32_t same_as;      /* of a weight: 0, or the one of the model's table whose bytes it shares */
} hyb_tensor;

/* ---- the batch ---- */

/* Consecutive rows of a batch that belong to one sequence at consecutive positions. */
typedef struct hyb_run {
    int first_row, n_rows;
    int32_t pos;               /* position of the first row */
    const int32_t *pages;      /* page table of the sequence: position p lives in page pages[p / HYB_PAGE] */
    int32_t slot_in, slot_out; /* of a recurrent state: the slot that the run goes on from (-1: zeros), and the one that
                                  it leaves it in */
} hyb_run;
enum { HYB_PAGE = 32 }; /* positions a page of the KV cache */

/* The rows that go through the model together. In the host's memory, and unchanged until sync(). */
typedef struct hyb_batch {
    const int32_t *ids, *pos;
    int n; /* token and position of every row */
    const hyb_run *runs;
    int n_runs; /* in the order of their rows */
    const int32_t *out;
    int n_out; /* rows whose logits are wanted, ascending */
} hyb_batch;
typedef enum hyb_index { HYB_INDEX_ID, HYB_INDEX_POS, HYB_INDEX_OUT } hyb_index;

/* Which rows of the batch the rows of an op are: row r is row r, or, after the rows whose logits are wanted have been
 * gathered, row out[r]. */
typedef enum hyb_rows { HYB_ROWS_BATCH, HYB_ROWS_OUT } hyb_rows;

/* The run that row r of such an op belongs to: what is a sequence's own (an adapter) is found by it. */
HYB_INLINE int hyb_run_of_row(const hyb_batch *batch, hyb_rows rows, int r)
{
    const int row = rows == HYB_ROWS_OUT ? (int)batch->out[r] : r;
    int low = 0, high = batch->n_runs - 1;
    while (low < high) { /* the last run that begins at row or before it */
        const int middle = (low + high + 1) / 2;
        if (batch->runs[middle].first_row <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
#endif
