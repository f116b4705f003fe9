/* cuda/ops: what every op on a GPU is given: a queue, the batch in device memory, scratch. hyb_cuda_op_name(at, op)
 * runs hyb_op_name; these functions are in the files ops_*.c.
 *
 * What changes from one step to the next (ids, positions, page tables) is read by kernels from the buffers of
 * hyb_cuda_batch, whose addresses stay; so the launches of a decode step can be captured once and replayed. */
#ifndef HYB_CUDA_OPS_C
#define HYB_CUDA_OPS_C
#include "queue.c"

/* The batch in device memory. Addresses are fixed for the life of a context; numbers are those of the current batch,
 * and choose grids. */
typedef struct hyb_cuda_batch {
    int32_t *ids, *pos, *out, *run_of_row; /* n, n, n_out, n */
    int32_t *pages;
    int32_t pages_a_seq; /* (runs, pages_a_seq): row r is the page table of run r */
    int32_t *tiles;      /* (n_tiles, 4): first row, rows (at most HYB_CUDA_TILE), run, 0: long runs in tiles */
    int32_t *runs;       /* (n_runs, 4): first row, rows, slot_in, slot_out */
    int32_t *split_rows; /* rows of short runs: attention splits their cache over blocks */
    float *parts;        /* scratch of attention: hyb_cuda_split_bytes, zero at first */
    int32_t max_rows, max_splits; /* of hyb_cuda_split */
    int32_t n, n_out, n_runs, n_tiles, n_split;
    /* the longest sequence, its new rows included, rounded up to a power of two; at least 256 */
    int32_t max_length_class;
} hyb_cuda_batch;

/* Where an op runs. Its scratch is free again when it is done. */
typedef struct hyb_cuda_at {
    hyb_cuda_queue *q;
    hyb_cuda_batch batch;
    char *scratch;
    size_t scratch_bytes;
} hyb_cuda_at;

static void hyb_cuda_launch3(hyb_cuda_queue *q, int module, int kernel, int64_t x, int64_t y, int64_t z,
                             unsigned block_x, unsigned block_y, unsigned shared, void **args)
{
    unsigned grid[3], block[3];
    grid[0] = (unsigned)x;
    grid[1] = (unsigned)y;
    grid[2] = (unsigned)z;
    block[0] = block_x;
    block[1] = block_y;
    block[2] = 1;
    hyb_cuda_launch(q, module, kernel, grid, block, shared, args);
}

/* Scratch of the ops squares and gram: their parts. */
enum { HYB_CUDA_SQUARES_PARTS = 256 };

static int64_t hyb_div_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* Whether 16 bytes at a time can be read at p and every `stride` floats after it. NULL is fine. */
static bool hyb_cuda_by_4(const void *p, int64_t stride) { return ((uintptr_t)p & 15) == 0 && stride % 4 == 0; }

static void hyb_cuda_grid(hyb_cuda_queue *q, int module, int kernel, int64_t x, int64_t y, unsigned threads,
                          void **args)
{
    unsigned grid[3], block[3];
    grid[0] = (unsigned)x;
    grid[1] = (unsigned)y;
    grid[2] = 1;
    block[0] = threads;
    block[1] = block[2] = 1;
    hyb_cuda_launch(q, module, kernel, grid, block, 0, args);
}
#endif
