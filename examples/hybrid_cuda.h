/* So that the examples build where they lie: cc examples/generate.c -lm */
#include "../hybrid_cuda.h"
