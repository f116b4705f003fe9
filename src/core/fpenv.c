/* core/fpenv: the floating-point environment at the border of the library.
 *
 * A host may round upwards, flush subnormals to zero (audio), or have floating-point exceptions trap (debug builds,
 * Delphi, Free Pascal). Every public function sets the environment that C begins with, and restores the host's when it
 * returns: control bits, and the flags of exceptions that were raised before, bit by bit. So do the workers, and the
 * host's threads that run pieces of our work. The host's callbacks run in the library's environment; what they change
 * of it is undone when they return.
 *
 * Registers are written only where they differ: on a host that changed nothing a call costs some nanoseconds. */
#ifndef HYB_CORE_FPENV_C
#define HYB_CORE_FPENV_C
#include "macros.h"

#if defined(_MSC_VER) && !defined(__clang__) && (defined(_M_X64) || defined(_M_IX86))
    #define HYB_FP_MSVC_X86
#elif defined(_MSC_VER) && !defined(__clang__) && defined(_M_ARM64)
    #define HYB_FP_MSVC_ARM64
#elif (defined(__x86_64__) || (defined(__i386__) && defined(__SSE__))) && (defined(__GNUC__) || defined(__clang__))
    #define HYB_FP_X86
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
    #define HYB_FP_ARM64
#elif defined(__arm__) && defined(__VFP_FP__) && !defined(__SOFTFP__)
    #define HYB_FP_ARM32
#elif defined(__riscv) && defined(__riscv_flen)
    #define HYB_FP_RISCV
#elif defined(__wasm__)
    #define HYB_FP_NONE /* it has no other environment */
#else
    #define HYB_FP_FENV
    #include <fenv.h>
#endif

/* The host's environment. */
typedef struct hyb_fp {
#if defined(HYB_FP_X86)
    uint32_t sse;            /* MXCSR: flags in bits 0-5 */
    uint16_t x87, x87_flags; /* the C library's strtod and printf look at its rounding */
#elif defined(HYB_FP_MSVC_X86)
    uint32_t sse;
#elif defined(HYB_FP_FENV)
    fenv_t all;
#else
    uint64_t control, flags;
#endif
} hyb_fp;

#if defined(HYB_FP_X86)

enum { HYB_SSE_FLAGS = 0x3F, HYB_SSE_PLAIN = 0x1F80, HYB_X87_BITS = 0x0F3F, HYB_X87_PLAIN = 0x033F };
HYB_INLINE uint32_t hyb_sse_get(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v)::"memory");
    return v;
}
HYB_INLINE void hyb_sse_set(uint32_t v) { __asm__ volatile("ldmxcsr %0" ::"m"(v) : "memory"); }
HYB_INLINE uint16_t hyb_x87_get(void)
{
    uint16_t v;
    __asm__ volatile("fnstcw %0" : "=m"(v)::"memory");
    return v;
}
HYB_INLINE void hyb_x87_set(uint16_t v) { __asm__ volatile("fldcw %0" ::"m"(v) : "memory"); }
HYB_INLINE uint16_t hyb_x87_flags(void)
{
    uint16_t v;
    __asm__ volatile("fnstsw %0" : "=m"(v)::"memory");
    return v & 0x3F;
}

/* Control word and flags at once: flags that came up inside must not trap when the host's mask is back. */
static HYB_NOINLINE void hyb_x87_restore(uint16_t control, uint16_t flags)
{
    struct {
        uint32_t control, status, tags, other[4];
    } environment;
    __asm__ volatile("fnstenv %0" : "=m"(environment)::"memory");
    environment.control = (environment.control & 0xFFFF0000u) | control;
    environment.status = (environment.status & ~0xBFu) | flags; /* bit 7 sums up the unmasked ones */
    if (flags & ~control & 0x3F) environment.status |= 0x80;
    __asm__ volatile("fldenv %0" ::"m"(environment) : "memory");
}

HYB_INLINE hyb_fp hyb_fp_enter(void)
{
    hyb_fp host;
    host.sse = hyb_sse_get();
    host.x87 = hyb_x87_get();
    host.x87_flags = hyb_x87_flags();
    if (HYB_UNLIKELY((host.sse & ~(uint32_t)HYB_SSE_FLAGS) != HYB_SSE_PLAIN)) hyb_sse_set(HYB_SSE_PLAIN);
    if (HYB_UNLIKELY((host.x87 & HYB_X87_BITS) != HYB_X87_PLAIN))
        hyb_x87_restore((uint16_t)((host.x87 & ~HYB_X87_BITS) | HYB_X87_PLAIN), host.x87_flags);
    return host;
}
HYB_INLINE void hyb_fp_leave(hyb_fp host)
{
    if (hyb_sse_get() != host.sse) hyb_sse_set(host.sse);
    if (HYB_UNLIKELY(hyb_x87_get() != host.x87 || hyb_x87_flags() != host.x87_flags))
        hyb_x87_restore(host.x87, host.x87_flags);
}

#elif defined(HYB_FP_MSVC_X86)

HYB_INLINE hyb_fp hyb_fp_enter(void)
{
    hyb_fp host;
    host.sse = _mm_getcsr();
    if ((host.sse & ~0x3Fu) != 0x1F80) _mm_setcsr(0x1F80);
    return host;
}
HYB_INLINE void hyb_fp_leave(hyb_fp host)
{
    if (_mm_getcsr() != host.sse) _mm_setcsr(host.sse);
}

#elif defined(HYB_FP_NONE)

HYB_INLINE hyb_fp hyb_fp_enter(void)
{
    hyb_fp host;
    host.control = host.flags = 0;
    return host;
}
HYB_INLINE void hyb_fp_leave(hyb_fp host) { HYB_UNUSED(host); }

#elif defined(HYB_FP_FENV)

HYB_INLINE hyb_fp hyb_fp_enter(void)
{
    hyb_fp host;
    fegetenv(&host.all);
    fesetenv(FE_DFL_ENV);
    return host;
}
HYB_INLINE void hyb_fp_leave(hyb_fp host) { fesetenv(&host.all); }

#else /* a register of control bits, all zero at first, and one of flags */

    #if defined(HYB_FP_ARM64)
HYB_INLINE uint64_t hyb_fp_control(void)
{
    uint64_t v;
    __asm__ volatile("mrs %0, fpcr" : "=r"(v)::"memory");
    return v;
}
HYB_INLINE uint64_t hyb_fp_flags(void)
{
    uint64_t v;
    __asm__ volatile("mrs %0, fpsr" : "=r"(v)::"memory");
    return v;
}
HYB_INLINE void hyb_fp_set_control(uint64_t v) { __asm__ volatile("msr fpcr, %0" ::"r"(v) : "memory"); }
HYB_INLINE void hyb_fp_set_flags(uint64_t v) { __asm__ volatile("msr fpsr, %0" ::"r"(v) : "memory"); }
    #elif defined(HYB_FP_MSVC_ARM64)
HYB_INLINE uint64_t hyb_fp_control(void) { return (uint64_t)_ReadStatusReg(ARM64_FPCR); }
HYB_INLINE uint64_t hyb_fp_flags(void) { return (uint64_t)_ReadStatusReg(ARM64_FPSR); }
HYB_INLINE void hyb_fp_set_control(uint64_t v) { _WriteStatusReg(ARM64_FPCR, (__int64)v); }
HYB_INLINE void hyb_fp_set_flags(uint64_t v) { _WriteStatusReg(ARM64_FPSR, (__int64)v); }
    #elif defined(HYB_FP_ARM32)
/* one register: flags of exceptions in 0-4 and 7, of saturation in 27, of comparisons above */
HYB_INLINE uint32_t hyb_fpscr_get(void)
{
    uint32_t v;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(v)::"memory");
    return v;
}
HYB_INLINE void hyb_fpscr_set(uint32_t v) { __asm__ volatile("vmsr fpscr, %0" ::"r"(v) : "memory", "cc"); }
HYB_INLINE uint64_t hyb_fp_control(void) { return hyb_fpscr_get() & 0x07FF9F00u; }
HYB_INLINE uint64_t hyb_fp_flags(void) { return hyb_fpscr_get() & 0x0800009Fu; }
HYB_INLINE void hyb_fp_set_control(uint64_t v) { hyb_fpscr_set((hyb_fpscr_get() & ~0x07FF9F00u) | (uint32_t)v); }
HYB_INLINE void hyb_fp_set_flags(uint64_t v) { hyb_fpscr_set((hyb_fpscr_get() & ~0x0800009Fu) | (uint32_t)v); }
    #else
HYB_INLINE uint64_t hyb_fp_control(void)
{
    uintptr_t v;
    __asm__ volatile("frrm %0" : "=r"(v)::"memory");
    return v;
}
HYB_INLINE uint64_t hyb_fp_flags(void)
{
    uintptr_t v;
    __asm__ volatile("frflags %0" : "=r"(v)::"memory");
    return v;
}
HYB_INLINE void hyb_fp_set_control(uint64_t v) { __asm__ volatile("fsrm %0" ::"r"((uintptr_t)v) : "memory"); }
HYB_INLINE void hyb_fp_set_flags(uint64_t v) { __asm__ volatile("fsflags %0" ::"r"((uintptr_t)v) : "memory"); }
    #endif

HYB_INLINE hyb_fp hyb_fp_enter(void)
{
    hyb_fp host;
    host.control = hyb_fp_control();
    host.flags = hyb_fp_flags();
    if (host.control) hyb_fp_set_control(0);
    return host;
}
HYB_INLINE void hyb_fp_leave(hyb_fp host)
{
    if (hyb_fp_flags() != host.flags) hyb_fp_set_flags(host.flags);
    if (hyb_fp_control() != host.control) hyb_fp_set_control(host.control);
}

#endif

/* The plain environment, where there is nothing to put back, or not yet: in a worker, after a callback. */
static void hyb_fp_plain(void) { hyb_fp_enter(); }

/* The head of a public function: HYB_BORDER(int, hybrid_twice, (int x), (x)) { return 2 * x; }
 * The body is not inlined into the border around it: compilers move arithmetic across changes of the environment. The
 * gate `house` lists the few functions that need no border. */
#define HYB_BORDER(type, name, parameters, arguments) \
    static HYB_NOINLINE type hyb_in_##name parameters; \
    HYBRID_API type name parameters \
    { \
        const hyb_fp border = hyb_fp_enter(); \
        type answer = hyb_in_##name arguments; \
        hyb_fp_leave(border); \
        return answer; \
    } \
    static HYB_NOINLINE type hyb_in_##name parameters
#define HYB_BORDER_VOID(name, parameters, arguments) \
    static HYB_NOINLINE void hyb_in_##name parameters; \
    HYBRID_API void name parameters \
    { \
        const hyb_fp border = hyb_fp_enter(); \
        hyb_in_##name arguments; \
        hyb_fp_leave(border); \
    } \
    static HYB_NOINLINE void hyb_in_##name parameters
#endif
