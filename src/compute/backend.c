/* compute/backend: the seam between models and devices: one table of functions that every back end fills, made from the
 * list of ops (ops.inc).
 *
 * Calls are imperative and in order. A back end may defer them: what they made can be read after read() and sync(), and
 * a call that fails makes sync() fail. Ops are called by hyb_do_name(be, op), which call.c makes from the same list. */
#ifndef HYB_COMPUTE_BACKEND_C
#define HYB_COMPUTE_BACKEND_C
#include "../core/memory.c"
#include "ops.inc"
#include "op.c"

typedef struct hyb_backend hyb_backend;

/* How a pass goes on: its ops are called and run; or called and recorded, to be run at its end; or left out, since a
 * record of an earlier pass over a batch of the same shape is run at its end. Who records goes on to pass_end before
 * anything of the host's can run: a device that is being recorded refuses much of what others of the process may ask of
 * it. */
typedef enum hyb_pass { HYB_PASS_RUN, HYB_PASS_RECORD, HYB_PASS_REPLAY } hyb_pass;

/* What a back end works on at the same time: ops and copies in their order, copies to the device, copies from it. */
typedef enum hyb_lane { HYB_LANE_OPS, HYB_LANE_UP, HYB_LANE_DOWN } hyb_lane;

typedef enum hyb_op {
#define HYB_OP(name_) HYB_OP_##name_,
    HYB_OPS(HYB_OP, HYB_OP) HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
        HYB_OP_COUNT
} hyb_op;

/* What a profile (profile.c) knows of an op. */
typedef struct hyb_profile {
    uint64_t calls, nanoseconds;
    double bytes;
} hyb_profile;

typedef struct hyb_backend_ops {
    const char *name;
#define HYB_OP(name_) void (*name_)(hyb_backend * be, const hyb_op_##name_ *op);
#define HYB_PARTS(name_) \
    bool (*name_)(hyb_backend * be, const hyb_op_##name_ *op); /* NULL, or false, with nothing done: in parts */
    HYB_OPS(HYB_OP, HYB_PARTS)
#undef HYB_OP
#undef HYB_PARTS
#define HYB_CALL(result_, name_, parameters_) result_(*name_) parameters_;
    HYB_BACKEND_CALLS(HYB_CALL)
#undef HYB_CALL
#define HYB_OP(name_) void (*name_)(hyb_backend * be, const hyb_op_##name_ *op); /* NULL: it cannot train */
    HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
} hyb_backend_ops;

struct hyb_backend {
    const hyb_backend_ops *ops;
    hybrid_runtime *rt;
    const hyb_batch *batch; /* of begin */
#if defined(HYBRID_PROFILE)
    hyb_profile profile[HYB_OP_COUNT];
#endif
};

/* ---- devices ---- */

enum { HYB_LIMIT_FORMATS = 8 }; /* distinct formats of activations that the matrices of one model may ask the CPU for */

/* What a context will ask of its back end, so that all its memory is known beforehand. Zero it, set the sizes, then
 * show it every matrix. */
typedef struct hyb_limits {
    int n_rows, n_out;                             /* rows of the largest batch; rows of logits of one */
    int n_seq, pages_a_seq;                        /* sequences, entries of a page table */
    int n_vocab, n_top;                            /* top_k: logits of a row, and k; 0: it is not asked for */
    int n_head, n_head_kv, head_dim_k, head_dim_v; /* 0 without attention */
    int n_wkv, wkv_size; /* heads of wkv7, and the size of one; 0: there are none */
    int n_train; /* rows of the longest run of a batch that is trained on; 0: no op of training is asked for */
    hybrid_type operands; /* of products of training: hyb_rounding.type */
    int n_expert_used;    /* experts that a row chooses; 0: there are none. Matrices of experts have ne[2] > 1 */
    /* filled by the device's show() */
    size_t scratch;                        /* GPU: bytes of scratch of the largest op */
    const void *format[HYB_LIMIT_FORMATS]; /* CPU: formats of prepared rows */
    size_t format_bytes[HYB_LIMIT_FORMATS];
    /* CPU: of products, over all lanes: of the kernel, of decoded rows, of a tile. Each is the largest of all matrices:
     * one op may have several. */
    size_t kernels_bytes, decoded_bytes, tiles_bytes;
    size_t experts_bytes;
    int n_formats;
} hyb_limits;

/* Memory of the host's that a device copies from and to while it computes. */
typedef struct hyb_host_memory {
    void *address; /* NULL: there is none */
    bool plain;    /* page-locked memory was not to be had: copies are slower, and the host waits for them */
} hyb_host_memory;

/* A place with memory where back ends run: the host, or a GPU. Shared by all contexts; every call from any thread. */
typedef struct hyb_device_ops {
    bool is_host; /* its addresses are plain pointers */
    hybrid_result (*alloc)(hyb_device *device, size_t bytes, void **address, hybrid_error *error);
    void (*free)(hyb_device *device, void *address);
    uint64_t (*cost)(hyb_device *device, size_t bytes); /* what alloc takes for that */
    hybrid_result (*alloc_host)(hyb_device *device, size_t bytes, hyb_host_memory *memory, hybrid_error *error);
    void (*free_host)(hyb_device *device, hyb_host_memory *memory); /* no copy is under way */
    bool (*fits)(hyb_device *device, uint64_t bytes); /* there is room for that, with a margin for others */
    hybrid_result (*write)(hyb_device *device, void *dst, const void *host, size_t bytes,
                           hybrid_error *error);                     /* host may change on return */
    hybrid_result (*flush)(hyb_device *device, hybrid_error *error); /* what was written has arrived */
    bool (*attends)(hyb_device *device, const hyb_limits *limits);   /* there is a kernel for heads of these sizes */
    bool (*gains)(hyb_device *device, hybrid_type operands); /* products of that format are faster than of F32 */
    bool (*show)(hyb_device *device, hyb_limits *limits,
                 const hyb_tensor *w); /* notes a matrix; false: no kernel for its type */
    uint64_t (*backend_cost)(hyb_device *device, const hyb_limits *limits);
    hybrid_result (*backend_create)(hyb_device *device, const hyb_limits *limits, hyb_backend **be,
                                    hybrid_error *error);
} hyb_device_ops;

struct hyb_device {
    const hyb_device_ops *ops;
    hybrid_runtime *rt;
};
#endif
