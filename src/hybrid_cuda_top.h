/* hybrid_cuda @version: hybrid.h on an NVIDIA GPU. No CUDA toolkit is needed to build, none of its files is included.
 *
 * MADE FROM src/ BY amalgamate.py (source id @source_id): edit there, not here.
 *
 *     #define HYBRID_IMPLEMENTATION
 *     #include "hybrid.h"
 *     #include "hybrid_cuda.h"
 *
 * That is all: models now use the GPU when there is one, and the CPU when not. At run time the driver is looked for,
 * then NVRTC (it compiles the kernels below for the GPU that is found) and cuBLAS; both come with the CUDA toolkit or
 * with the PyPI packages nvidia-cuda-nvrtc and nvidia-cublas. What is missing is said in the log and by
 * hybrid_devices(); the program runs on. Which device, and how much of its memory: see hybrid_runtime_desc. Linux and
 * Windows, 64 bit. Take both headers from the same release.
 *
 * CONTENTS (line, file)
 *
@contents
 */
