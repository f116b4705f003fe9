/* core/stack: how much of the thread's stack a recursion may take. It is measured, not counted: a frame is as large as
 * a compiler's options make it, and threads of 128 KB (musl) or 64 KB (games) are common. */
#ifndef HYB_CORE_STACK_C
#define HYB_CORE_STACK_C
#include "macros.h"

/* The part of the 64 KB of a call that a recursion may take before it is refused; the rest is for the frames above the
 * border, one more turn, and what the turn calls that does not recurse (the C library's printf of a double takes up to
 * 8 KB). Sanitizers blow up frames by red zones: they get more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    #define HYB_STACK_FACTOR 8
#elif defined(__has_feature)
    #if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
        #define HYB_STACK_FACTOR 8
    #endif
#endif
#ifndef HYB_STACK_FACTOR
    #define HYB_STACK_FACTOR 1
#endif
enum { HYB_STACK_BUDGET = 44 * 1024 * HYB_STACK_FACTOR };

/* where the stack stood when the library was entered; 0: unbounded */
typedef struct hyb_stack {
    uintptr_t border;
} hyb_stack;

/* Where the stack stands. Sanitizers may keep locals elsewhere, and WebAssembly knows no frames. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(__wasm__)
    #define HYB_STACK_HERE(at) ((at) = (uintptr_t)__builtin_frame_address(0))
#else
    #define HYB_STACK_HERE(at) \
        { \
            volatile char here = 0; \
            (at) = (uintptr_t)&here + (uintptr_t)here; \
        }
#endif

static HYB_NOINLINE void hyb_stack_open(hyb_stack *s) { HYB_STACK_HERE(s->border); }

/* Whether there is room for one more turn of a recursion. Stacks grow down on all known machines; one that grew up
 * would be measured as well. */
static HYB_NOINLINE bool hyb_stack_room(const hyb_stack *s)
{
    uintptr_t here = 0;
    if (!s->border) return true;
    HYB_STACK_HERE(here);
    return (here < s->border ? s->border - here : here - s->border) < (uintptr_t)HYB_STACK_BUDGET;
}
#endif
