/* private: for tests that call private functions. Alone (cc tests/test_x.c -lm) such a test holds the library, as a
 * program of one file does.
 * run_tests.py says TEST_LINKED and links it with tests/library.c instead, which is compiled once for all tests: then
 * the test compiles what it calls itself of the private functions, and what those call. Public functions (gnu_inline:
 * "defined, but elsewhere") and the seams below, behind which all kernels stand, are the library's. (A kernel in the
 * object of a test, says nm, means that a seam is missing: it takes 10 s to compile.) */
#ifndef PRIVATE_H
#define PRIVATE_H
#ifndef HYBRID_IMPLEMENTATION
    #define HYBRID_IMPLEMENTATION
#endif
#ifdef TEST_LINKED
    #define HYBRID_API extern __inline __attribute__((gnu_inline, noinline))
#endif
#include "../src/hybrid_all.c"
#include "check.h"

/* clang-format off */
#define SEAMS(X) \
    X(host_device) X(cpu_backend_create) X(cpu_limits_matrix) X(matmul_run) X(matmul_bytes) X(int_kernel_for) \
    X(int_kernel_of) X(repack_for) X(cpu_kernels_for)
/* clang-format on */

#ifdef TEST_LINKED
    #define SEAM(name) extern __typeof__(hyb_##name) *const seam_##name;
SEAMS(SEAM)
    #define hyb_host_device        seam_host_device
    #define hyb_cpu_backend_create seam_cpu_backend_create
    #define hyb_cpu_limits_matrix  seam_cpu_limits_matrix
    #define hyb_matmul_run         seam_matmul_run
    #define hyb_matmul_bytes       seam_matmul_bytes
    #define hyb_int_kernel_for     seam_int_kernel_for
    #define hyb_int_kernel_of      seam_int_kernel_of
    #define hyb_repack_for         seam_repack_for
    #define hyb_cpu_kernels_for    seam_cpu_kernels_for
#endif
#endif
