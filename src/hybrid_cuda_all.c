/* The CUDA back end as one translation unit with hybrid_all.c: amalgamate.py makes hybrid_cuda.h of it. Kernels are
 * texts of files, which C cannot include: so work on this half goes through the amalgamator. A file can use only
 * what stands above it, and all of hybrid_all.c. */
#ifndef HYBRID_CUDA_H
#define HYBRID_CUDA_H
#ifndef HYBRID_H
    #error "hybrid_cuda.h adds a GPU to hybrid.h: include hybrid.h first"
#endif
#endif

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_CUDA_IMPLEMENTED
#define HYBRID_CUDA_IMPLEMENTED
#include "core/begin.h"
#include "core/macros.h"
#include "cuda/system.h"
#include "quant/types.inc"
#include "compute/ops.inc"

HYB_TEPID_BEGIN
#include "cuda/abi.c"
#include "cuda/library.c"
#include "cuda/driver.c"
#include "cuda/arena.c"
#include "cuda/modules.c"
#include "cuda/cache.c"
#include "cuda/jit.c"
#include "cuda/device.c"
#include "cuda/blas.c"
#include "cuda/queue.c"
#include "cuda/gemm.c"
#include "cuda/ops.c"
#include "cuda/ops_rows.c"
#include "cuda/ops_matmul.c"
#include "cuda/ops_matmul_back.c"
#include "cuda/ops_recurrent.c"
#include "cuda/ops_attention.c"
#include "cuda/ops_experts.c"
#include "cuda/ops_train.c"
#include "cuda/ops_lowrank.c"
#include "cuda/ops_rssm.c"
#include "cuda/module_table.c"
#include "cuda/backend.c"
#include "cuda/provider.c"
HYB_TEPID_END

#include "core/end.h"
#endif
#endif
