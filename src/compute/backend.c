/* compute/backend: the seam between models and devices: one table of functions that every back end fills, made from the list of ops (ops.inc).
 *
 * Calls are imperative and in order. A back end may defer them: what they made can be read after read() and sync(), and a call that fails
 * makes sync() fail. Ops are called by hybrid__do_name(be, op), which call.c makes from the same list. */

typedef struct hybrid__backend hybrid__backend;

/* How a pass goes on: its ops are called and run; or called and recorded, to be run at its end; or left out, since a record of an earlier pass over
 * a batch of the same shape is run at its end. Who records goes on to pass_end before anything of the host's can run: a device that is being recorded
 * refuses much of what others of the process may ask of it. */
typedef enum hybrid__pass { HYBRID__PASS_RUN, HYBRID__PASS_RECORD, HYBRID__PASS_REPLAY } hybrid__pass;

typedef enum hybrid__op {
#define HYBRID__OP(name_) HYBRID__OP_##name_,
    HYBRID__OPS(HYBRID__OP, HYBRID__OP)
#undef HYBRID__OP
    HYBRID__OP_COUNT
} hybrid__op;

/* What a profile (profile.c) knows of an op. */
typedef struct hybrid__profile {
    uint64_t calls, nanoseconds;
    double   bytes;
} hybrid__profile;

typedef struct hybrid__backend_ops {
    const char *name;
#define HYBRID__OP(name_) void (*name_)(hybrid__backend *be, const hybrid__op_##name_ *op);
#define HYBRID__PARTS(name_) bool (*name_)(hybrid__backend *be, const hybrid__op_##name_ *op);      /* NULL, or false, with nothing done: in parts */
    HYBRID__OPS(HYBRID__OP, HYBRID__PARTS)
#undef HYBRID__OP
#undef HYBRID__PARTS
#define HYBRID__CALL(result_, name_, parameters_) result_ (*name_) parameters_;
    HYBRID__BACKEND_CALLS(HYBRID__CALL)
#undef HYBRID__CALL
} hybrid__backend_ops;

struct hybrid__backend {
    const hybrid__backend_ops *ops;
    hybrid_runtime *rt;
    const hybrid__batch *batch;         /* of begin */
    const char *refused;                /* NULL, or why an op could not be done since begin: sync says it */
#if defined(HYBRID_PROFILE)
    hybrid__profile profile[HYBRID__OP_COUNT];
#endif
};

/* For sync(). */
static hybrid_result hybrid__refused(const hybrid__backend *be, hybrid_error *error)
{
    return be->refused ? hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "%s", be->refused) : HYBRID_OK;
}

/* ---- devices ---- */

enum { HYBRID__LIMIT_FORMATS = 8 };        /* distinct formats of activations that the matrices of one model may ask the CPU for */

/* What a context will ask of its back end, so that all its memory is known beforehand. Zero it, set the sizes, then show it every matrix. */
typedef struct hybrid__limits {
    int     n_rows, n_out;                 /* rows of the largest batch; rows of logits of one */
    int     n_seq, pages_a_seq;            /* sequences, entries of a page table */
    int     n_vocab, n_top;                /* top_k: logits of a row, and k; 0: it is not asked for */
    int     n_head, n_head_kv, head_dim_k, head_dim_v;                             /* 0 without attention */
    int     n_expert_used;                 /* experts that a row chooses; 0: there are none. Matrices of experts have ne[2] > 1 */
    /* filled by the device's show() */
    size_t  scratch;                       /* GPU: bytes of scratch of the largest op */
    const void *format[HYBRID__LIMIT_FORMATS];         /* CPU: formats of prepared rows */
    size_t  format_bytes[HYBRID__LIMIT_FORMATS];
    size_t  lanes_bytes, experts_bytes;
    int     n_formats;
} hybrid__limits;

/* A place with memory where back ends run: the host, or a GPU. Shared by all contexts; every call from any thread. */
typedef struct hybrid__device_ops {
    bool is_host;                          /* its addresses are plain pointers */
    hybrid_result (*alloc)(hybrid__device *device, size_t bytes, void **address, hybrid_error *error);
    void (*free)(hybrid__device *device, void *address);
    uint64_t (*cost)(hybrid__device *device, size_t bytes);      /* what alloc takes for that */
    bool (*fits)(hybrid__device *device, uint64_t bytes);        /* there is room for that, with a margin for others */
    hybrid_result (*write)(hybrid__device *device, void *dst, const void *host, size_t bytes, hybrid_error *error);    /* host may change on return */
    hybrid_result (*flush)(hybrid__device *device, hybrid_error *error);               /* what was written has arrived */
    bool (*attends)(hybrid__device *device, const hybrid__limits *limits);             /* there is a kernel for heads of these sizes */
    bool (*show)(hybrid__device *device, hybrid__limits *limits, const hybrid__tensor *w);     /* notes a matrix; false: no kernel for its type */
    uint64_t (*backend_cost)(hybrid__device *device, const hybrid__limits *limits);
    hybrid_result (*backend_create)(hybrid__device *device, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error);
} hybrid__device_ops;

struct hybrid__device {
    const hybrid__device_ops *ops;
    hybrid_runtime *rt;
};
