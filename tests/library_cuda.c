/* Both halves of the library: what run_tests.py links tests of the GPU's half with. */
#define HYBRID_IMPLEMENTATION
#include "../hybrid.h"
#include "../hybrid_cuda.h"
