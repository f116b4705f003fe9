/* core/stack: how much of the thread's stack a recursion may take. It is measured, not counted: a frame is as large as a compiler's
 * options make it, and threads of 128 KB (musl) or 64 KB (games) are common. */

/* Of the 64 KB that a call may take, what a recursion may take before it is refused; the rest is for the frames above the border, one
 * more turn, and what the turn calls that does not recurse (the C library's printf of a double takes up to 8 KB). Sanitizers blow up
 * frames by red zones: they get more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    #define HYBRID__STACK_FACTOR 8
#elif defined(__has_feature)
    #if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
        #define HYBRID__STACK_FACTOR 8
    #endif
#endif
#ifndef HYBRID__STACK_FACTOR
    #define HYBRID__STACK_FACTOR 1
#endif
enum { HYBRID__STACK_BUDGET = 44 * 1024 * HYBRID__STACK_FACTOR };

typedef struct hybrid__stack { uintptr_t border; } hybrid__stack;   /* where the stack stood when the library was entered; 0: unbounded */

/* Where the stack stands. Sanitizers may keep locals elsewhere, and WebAssembly knows no frames. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(__wasm__)
    #define HYBRID__STACK_HERE(at) ((at) = (uintptr_t)__builtin_frame_address(0))
#else
    #define HYBRID__STACK_HERE(at) { volatile char here = 0; (at) = (uintptr_t)&here + (uintptr_t)here; }
#endif

static HYBRID__NOINLINE void hybrid__stack_open(hybrid__stack *s) { HYBRID__STACK_HERE(s->border); }

/* Whether there is room for one more turn of a recursion. Stacks grow down on all machines that are known, up on none: both are right. */
static HYBRID__NOINLINE bool hybrid__stack_room(const hybrid__stack *s)
{
    uintptr_t here = 0;
    if (!s->border) return true;
    HYBRID__STACK_HERE(here);
    return (here < s->border ? s->border - here : here - s->border) < (uintptr_t)HYBRID__STACK_BUDGET;
}
