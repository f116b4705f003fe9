/* compute/op: the structure of every op, what it reads, what it writes, and how many bytes that is: a file of ops/ for
 * each family, over the tensors and batches of ops/batch.c.
 *
 * Every pointer in an op is an address in the memory of the back end's device: it is computed with, but only the back
 * end looks after it. Activations are float32 rows, contiguous inside a row, rows `stride` floats apart. Weights are
 * tensors in the type of their file.
 *
 * Inputs are const and outputs are not. Where a comment says that an output may lie on an input, it may be the very
 * same rows: who lays out the memory decides that (hyb_activations_layout), not the op. Everything else may not
 * overlap.
 *
 * hyb_bytes_name(op, batch): what the op has to read and write, weights included, each once: for a profile. */
#ifndef HYB_COMPUTE_OP_C
#define HYB_COMPUTE_OP_C
#include "ops/batch.c"
#include "ops/norms.c"
#include "ops/products.c"
#include "ops/heads.c"
#include "ops/recurrent.c"
#include "ops/experts.c"
#include "ops/values.c"
#include "ops/training.c"
#include "ops/rssm.c"
#endif
