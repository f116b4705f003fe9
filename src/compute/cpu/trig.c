/* compute/cpu/trig: sine and cosine in double, for tables of rotations: the same bits on every machine, whatever its
 * libm. */
#ifndef HYB_COMPUTE_CPU_TRIG_C
#define HYB_COMPUTE_CPU_TRIG_C
#include "../../core/macros.h"

/* |error| < 2^-51 for |x| < 2^26 (ten million radians: position times frequency); it grows with |x| beyond. NaN and
 * inf give NaN. */
static void hyb_sincos(double x, double *sine, double *cosine)
{
    /* pi / 2 in three parts; n times the first two is exact for n < 2^23 */
    static const double part1 = 1.57079632580280303955078125, part2 = 9.920935791635221e-10,
                        part3 = 5.170182981794105e-19;
    /* clang-format off */
    static const double s[8] = {
        -1.0 / 6,        1.0 / 120,           -1.0 / 5040,            1.0 / 362880,
        -1.0 / 39916800, 1.0 / 6227020800.0,  -1.0 / 1307674368000.0, 1.0 / 355687428096000.0 };
    static const double c[8] = {
        1.0 / 24,        -1.0 / 720,          1.0 / 40320,            -1.0 / 3628800,
        1.0 / 479001600, -1.0 / 87178291200.0, 1.0 / 20922789888000.0, -1.0 / 6402373705728000.0 };
    /* clang-format on */
    /* 1.5 * 2^52: rounds to the nearest quarter turn, kept in the low bits */
    double t = x * 0.63661977236758134308 + 6755399441055744.0;
    double n = t - 6755399441055744.0, r = ((x - n * part1) - n * part2) - n * part3, z = r * r, ps = s[7], pc = c[7];
    uint64_t quadrant;
    int i;
    memcpy(&quadrant, &t, 8);
    for (i = 6; i >= 0; i--) {
        ps = ps * z + s[i];
        pc = pc * z + c[i];
    }
    ps = r + r * z * ps;
    pc = (1 - z / 2) + z * z * pc;
    *sine = quadrant & 1 ? pc : ps;
    *cosine = quadrant & 1 ? ps : pc;
    if (quadrant & 2) *sine = -*sine;
    if ((quadrant + 1) & 2) *cosine = -*cosine;
}
#endif
