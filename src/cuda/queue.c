/* cuda/queue: work in order on one stream of a device, used by one thread at a time. Calls return before the work is
 * done.
 *
 * The first failure is kept in q->failure, and everything after it does nothing, so that a forward
 * pass is checked once, at its end. A queue whose device is lost can still be synchronised and destroyed. While work is
 * recorded, only a lost device is a failure of the queue: anything else (another thread may break a capture) is one of
 * the recording.
 *
 * Host memory crosses in pinned pieces. Writes are copied into a ring of them and are on their way while the caller
 * reads on in its file; reads wait in one until the next sync. Without pinned memory both are plain copies, which
 * the driver passes through pinned memory of its own.
 *
 *     writes   [ on its way, event 0 ][ on its way, event 1 ][ being filled ][ free ]     4 pieces of 4 MB, in a ring:
 *                                                            ^ stage                      the write that comes round
 *                                                                                         waits for the piece's event
 *     reads    [ read 0 | read 1 | ... | back_used ]          1 piece; sync copies each to its place in the host */
#ifndef HYB_CUDA_QUEUE_C
#define HYB_CUDA_QUEUE_C
#include "../core/lifetime.c"
#include "blas.c"

enum { HYB_STAGE_COUNT = 4, HYB_STAGE_BYTES = 4 << 20, HYB_READS_MAX = 16 };

typedef struct hyb_pinned {
    char *host;
    void *event;
    size_t used;
} hyb_pinned;
typedef struct hyb_pending_read {
    void *host;
    size_t offset, bytes;
} hyb_pending_read;

typedef struct hyb_cuda_queue {
    hyb_cuda *cu;
    void *stream;
    hybrid_error failure;   /* the first; its result is HYBRID_OK while there is none */
    bool capturing;         /* calls are recorded, not run */
    bool rehearsing;        /* calls only prepare what they need: modules are compiled, nothing runs */
    bool refused;           /* the failure is only one of the recording */
    uint64_t capture_start; /* n_launches then */
    const char *last;       /* the kernel that was launched last: one of the suspects when the device fails */
    uint64_t n_launches, n_graph_launches, n_copies, n_writes, n_reads, n_syncs, bytes_written, bytes_read;
    hyb_pinned stages[HYB_STAGE_COUNT];
    int stage;     /* the one that is being filled */
    bool pageable; /* there is no pinned memory */
    char *back;    /* pinned, of HYB_STAGE_BYTES: where reads land */
    size_t back_used;
    int n_pending;
    hyb_pending_read pending[HYB_READS_MAX];
    void *event; /* of hyb_cuda_wait */
    hyb_blas_handle blas;
    bool no_blas; /* it could not be had for this queue */
} hyb_cuda_queue;

typedef struct hyb_cuda_graph {
    void *executable;
    uint64_t n_launches;
} hyb_cuda_graph;

/* A kernel fails after its launch: the call that reports it, a copy perhaps, is not to blame. A call that fails in a
 * capture may work outside of one. */
static void hyb_cuda_break(hyb_cuda_queue *q, int code, const char *what)
{
    char suspect[96];
    if (!code || q->failure.result) return;
    if (q->last && hyb_driver_is_fault(code)) {
        snprintf(suspect, sizeof suspect, "running kernels, the last one %.40s", q->last);
        what = suspect;
    }
    q->refused = q->capturing && !hyb_driver_is_fault(code);
    hyb_driver_fail(&q->cu->driver, &q->failure, code, what);
}

/* For calls that work outside of a capture, but not inside one. */
static bool hyb_cuda_refuse(hyb_cuda_queue *q, const char *what)
{
    if (!q->capturing) return false;
    q->refused = q->refused || !q->failure.result; /* a lost device stays one */
    hyb_keep(&q->failure, HYBRID_ERROR_INVALID, "the GPU: %s cannot be part of a captured graph", what);
    return true;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_cuda_queue_create(hyb_cuda *cu, hyb_cuda_queue **out, hybrid_error *error)
{
    hyb_cuda_queue *q = (hyb_cuda_queue *)hyb_calloc(cu->rt, 1, sizeof *q);
    hyb_cuda_caller caller;
    int code;
    *out = NULL;
    if (!q) return hyb_fail_memory(error, sizeof *q);
    q->cu = cu;
    caller = hyb_cuda_enter(cu);
    code = cu->driver.api.cuStreamCreate(&q->stream, HYB_CU_STREAM_NON_BLOCKING);
    hyb_cuda_leave(cu, caller);
    if (code) {
        hyb_free(cu->rt, q);
        return hyb_driver_fail(&cu->driver, error, code, "creating a stream");
    }
    hyb_cuda_retain(cu);
    *out = q;
    return HYBRID_OK;
}

/* Waits for the work in flight. NULL is nothing. */
static void hyb_cuda_queue_destroy(hyb_cuda_queue *q)
{
    const hyb_driver_api *api;
    hyb_cuda *cu;
    hyb_cuda_caller caller;
    int i;
    if (!q) return;
    cu = q->cu;
    api = &cu->driver.api;
    caller = hyb_cuda_enter(cu);
    if (q->capturing) {
        void *graph = NULL;
        if (api->cuStreamEndCapture(q->stream, &graph) == 0 && graph) api->cuGraphDestroy(graph);
    }
    api->cuStreamSynchronize(q->stream);
    hyb_blas_give(cu, &q->blas);
    for (i = 0; i < HYB_STAGE_COUNT; i++) {
        if (q->stages[i].event) api->cuEventDestroy(q->stages[i].event);
        if (q->stages[i].host) api->cuMemFreeHost(q->stages[i].host);
    }
    if (q->back) api->cuMemFreeHost(q->back);
    if (q->event) api->cuEventDestroy(q->event);
    api->cuStreamDestroy(q->stream);
    hyb_cuda_leave(cu, caller);
    hyb_free(cu->rt, q);
    hyb_cuda_release(cu);
}

/* Waits until everything is done; reads are valid then. Returns the first failure since the queue was made. */
static hybrid_result hyb_cuda_sync(hyb_cuda_queue *q, hybrid_error *error)
{
    hyb_cuda_caller caller = hyb_cuda_enter(q->cu);
    int i, code;
    if (!hyb_cuda_refuse(q, "waiting")) {
        code = q->cu->driver.api.cuStreamSynchronize(q->stream); /* after a failure too: copies may be in flight */
        hyb_cuda_break(q, code, "waiting");
        for (i = 0; i < q->n_pending && !code; i++)
            memcpy(q->pending[i].host, q->back + q->pending[i].offset, q->pending[i].bytes);
        q->n_pending = 0;
        q->back_used = 0;
        q->stages[q->stage].used = 0;
        q->n_syncs++;
    }
    hyb_cuda_leave(q->cu, caller);
    return hyb_kept(&q->failure, error);
}

/* Work put into q from now on runs after all the work that is in other now. */
static void hyb_cuda_wait(hyb_cuda_queue *q, hyb_cuda_queue *other)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_caller caller;
    int code = 0;
    if (q->failure.result || q == other || hyb_cuda_refuse(q, "waiting for another queue")) return;
    caller = hyb_cuda_enter(q->cu);
    if (!other->event && (code = api->cuEventCreate(&other->event, HYB_CU_EVENT_DISABLE_TIMING)) != 0)
        other->event = NULL;
    if (!code) code = api->cuEventRecord(other->event, other->stream);
    if (!code) code = api->cuStreamWaitEvent(q->stream, other->event, 0);
    hyb_cuda_break(q, code, "waiting for another queue");
    hyb_cuda_leave(q->cu, caller);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static bool hyb_pinned_create(hyb_cuda_queue *q, hyb_pinned *s)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    void *host = NULL;
    if (api->cuMemHostAlloc(&host, HYB_STAGE_BYTES, HYB_CU_HOSTALLOC_PORTABLE)) return false;
    if (api->cuEventCreate(&s->event, HYB_CU_EVENT_DISABLE_TIMING)) {
        s->event = NULL;
        api->cuMemFreeHost(host);
        return false;
    }
    s->host = (char *)host;
    s->used = 0;
    return true;
}

/* The piece to fill: the current one while it has room, else one whose copies are done, else a new one, else the
 * oldest, after a wait. NULL when there is no pinned memory at all. */
static hyb_pinned *hyb_pinned_next(hyb_cuda_queue *q)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    int i, k, oldest = -1;
    if (q->pageable) return NULL;
    if (q->stages[q->stage].host && q->stages[q->stage].used < HYB_STAGE_BYTES) return &q->stages[q->stage];
    for (i = 1; i <= HYB_STAGE_COUNT; i++) {
        k = (q->stage + i) % HYB_STAGE_COUNT;
        if (!q->stages[k].host) continue;
        if (oldest < 0) oldest = k;
        if (api->cuEventQuery(q->stages[k].event) == 0) break;
    }
    if (i > HYB_STAGE_COUNT) {
        for (k = 0; k < HYB_STAGE_COUNT && q->stages[k].host; k++) {}
        if (k == HYB_STAGE_COUNT || !hyb_pinned_create(q, &q->stages[k])) {
            if (oldest < 0) {
                q->pageable = true;
                return NULL;
            }
            k = oldest;
            hyb_cuda_break(q, api->cuEventSynchronize(q->stages[k].event), "copying to the device");
        }
    }
    q->stage = k;
    q->stages[k].used = 0;
    return &q->stages[k];
}

enum { HYB_BULK_CHUNK = 256 << 10 };
typedef struct hyb_bulk {
    char *to;
    const char *from;
    size_t bytes;
} hyb_bulk;

static void hyb_bulk_chunk(void *arg, int chunk, int lane)
{
    const hyb_bulk *b = (const hyb_bulk *)arg;
    const size_t at = (size_t)chunk * HYB_BULK_CHUNK;
    HYB_UNUSED(lane);
    memcpy(b->to + at, b->from + at, HYB_MIN(b->bytes - at, (size_t)HYB_BULK_CHUNK));
}

/* memcpy. All our threads copy large pieces: one alone cannot keep up with the bus, and several read the pages of a
 * mapped file faster. A host's own parallel_for is not used: it may run anything on this thread, which holds a lock and
 * the device's context. */
static void hyb_bulk_copy(hybrid_runtime *rt, char *to, const char *from, size_t bytes)
{
    hyb_bulk b;
    b.to = to;
    b.from = from;
    b.bytes = bytes;
    if (bytes < 4 * HYB_BULK_CHUNK || rt->pool.host_for)
        memcpy(to, from, bytes);
    else
        hyb_parallel(rt, (int)((bytes + HYB_BULK_CHUNK - 1) / HYB_BULK_CHUNK), hyb_bulk_chunk, &b);
}

/* Host to device; the host's memory may be used again at once. */
static void hyb_cuda_write(hyb_cuda_queue *q, void *device, const void *host, size_t bytes)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cu_ptr to = (hyb_cu_ptr)(uintptr_t)device;
    const char *from = (const char *)host;
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes || hyb_cuda_refuse(q, "a write from the host")) return;
    caller = hyb_cuda_enter(q->cu);
    /* pinned pages are not here */
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "copying to the device");
    q->n_writes++;
    q->bytes_written += bytes;
    while (bytes && !q->failure.result) {
        hyb_pinned *s = hyb_pinned_next(q);
        size_t n = s ? HYB_MIN(bytes, HYB_STAGE_BYTES - s->used) : bytes;
        if (q->failure.result) break;
        if (s) hyb_bulk_copy(q->cu->rt, s->host + s->used, from, n);
        hyb_cuda_break(q, api->cuMemcpyHtoDAsync(to, s ? s->host + s->used : from, n, q->stream),
                       "copying to the device");
        if (s) {
            s->used = HYB_MIN(hyb_align(s->used + n, 64), (size_t)HYB_STAGE_BYTES);
            if (s->used == HYB_STAGE_BYTES)
                hyb_cuda_break(q, api->cuEventRecord(s->event, q->stream), "copying to the device");
        }
        to += n;
        from += n;
        bytes -= n;
    }
    hyb_cuda_leave(q->cu, caller);
}

/* Device to host; valid after the next sync. */
static void hyb_cuda_read(hyb_cuda_queue *q, void *host, const void *device, size_t bytes)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_caller caller;
    void *to = host;
    if (q->failure.result || q->rehearsing || !bytes || hyb_cuda_refuse(q, "a read to the host")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_reads++;
    q->bytes_read += bytes;
    if (!q->back && !q->pageable && bytes <= HYB_STAGE_BYTES) {
        void *pinned = NULL;
        if (api->cuMemHostAlloc(&pinned, HYB_STAGE_BYTES, HYB_CU_HOSTALLOC_PORTABLE)) pinned = NULL;
        q->back = (char *)pinned;
    }
    if (q->back && q->n_pending < HYB_READS_MAX && bytes <= HYB_STAGE_BYTES - q->back_used) {
        hyb_pending_read *p = &q->pending[q->n_pending++];
        p->host = host;
        p->offset = q->back_used;
        p->bytes = bytes;
        to = q->back + q->back_used;
        q->back_used = HYB_MIN(hyb_align(q->back_used + bytes, 64), (size_t)HYB_STAGE_BYTES);
    }
    hyb_cuda_break(q, api->cuMemcpyDtoHAsync(to, (hyb_cu_ptr)(uintptr_t)device, bytes, q->stream),
                   "copying from the device");
    hyb_cuda_leave(q->cu, caller);
}

/* Straight from page-locked memory (or plain, which the driver copies first), or to it: both stay as they are until the
 * queue is through. */
static void hyb_cuda_upload(hyb_cuda_queue *q, void *device, const void *host, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || !bytes || hyb_cuda_refuse(q, "an upload")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_writes++;
    q->bytes_written += bytes;
    hyb_cuda_break(q, q->cu->driver.api.cuMemcpyHtoDAsync((hyb_cu_ptr)(uintptr_t)device, host, bytes, q->stream),
                   "copying to the device");
    hyb_cuda_leave(q->cu, caller);
}
static void hyb_cuda_download(hyb_cuda_queue *q, void *host, const void *device, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || !bytes || hyb_cuda_refuse(q, "a download")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_reads++;
    q->bytes_read += bytes;
    hyb_cuda_break(q, q->cu->driver.api.cuMemcpyDtoHAsync(host, (hyb_cu_ptr)(uintptr_t)device, bytes, q->stream),
                   "copying from the device");
    hyb_cuda_leave(q->cu, caller);
}

static void hyb_cuda_copy(hyb_cuda_queue *q, void *dst, const void *src, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_copies++;
    hyb_cuda_break(q,
                   q->cu->driver.api.cuMemcpyDtoDAsync((hyb_cu_ptr)(uintptr_t)dst, (hyb_cu_ptr)(uintptr_t)src, bytes,
                                                       q->stream),
                   "copying on the device");
    hyb_cuda_leave(q->cu, caller);
}

static void hyb_cuda_zero(hyb_cuda_queue *q, void *device, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_copies++;
    hyb_cuda_break(q, q->cu->driver.api.cuMemsetD8Async((hyb_cu_ptr)(uintptr_t)device, 0, bytes, q->stream),
                   "clearing device memory");
    hyb_cuda_leave(q->cu, caller);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

/* Puts a kernel of a module into the queue. args: addresses of its arguments, read before this returns. The module is
 * compiled on first use (not while capturing). A grid with a zero does nothing. */
static void hyb_cuda_launch(hyb_cuda_queue *q, int module, int kernel, const unsigned grid[3], const unsigned block[3],
                            unsigned shared_bytes, void **args)
{
    hyb_cuda *cu = q->cu;
    hyb_module_slot *slot;
    char what[112];
    hyb_cuda_caller caller;
    int code = 0;
    if (q->failure.result || !grid[0] || !grid[1] || !grid[2]) return;
    if (!hyb_jit_ready(&cu->jit, module) && hyb_cuda_refuse(q, "compiling kernels")) return;
    caller = hyb_cuda_enter(cu);
    if (!hyb_jit_module(&cu->jit, module, &q->failure)) {
        slot = &cu->jit.slots[module];
        if (kernel < 0 || kernel >= HYB_MODULE_KERNELS || !slot->functions[kernel])
            hyb_keep(&q->failure, HYBRID_ERROR_INVALID, "the CUDA module '%.60s' has no kernel %d",
                     cu->jit.info(module)->name, kernel);
        else if (!q->rehearsing) {
            if (shared_bytes > 48u << 10) code = hyb_jit_shared(&cu->jit, module, kernel, shared_bytes);
            if (!code)
                code = cu->driver.api.cuLaunchKernel(slot->functions[kernel], grid[0], grid[1], grid[2], block[0],
                                                     block[1], block[2], shared_bytes, q->stream, args, NULL);
            q->n_launches++;
            q->last = cu->jit.info(module)->kernels[kernel];
            if (code) {
                snprintf(what, sizeof what, "kernel %.36s (grid %u,%u,%u block %u,%u,%u)", q->last, grid[0], grid[1],
                         grid[2], block[0], block[1], block[2]);
                hyb_cuda_break(q, code, what);
            }
        }
    }
    hyb_cuda_leave(cu, caller);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

/* A graph that cannot be made or run: the queue is as good as before, unless the device is lost. */
static hybrid_result hyb_cuda_graph_fail(hyb_cuda_queue *q, int code, const char *what, hybrid_error *error)
{
    if (hyb_driver_is_fault(code)) hyb_cuda_break(q, code, what);
    return hyb_driver_fail(&q->cu->driver, error, code, what);
}

/* From here to hyb_cuda_capture_end launches, copies and clears are recorded and not run. Modules must be loaded
 * before, and what changes from one replay to the next must lie in device memory: arguments are kept as they are now.
 * No code of the process may synchronise the device meanwhile, so host code never runs while a capture is open. On
 * failure nothing is being captured. */
static hybrid_result hyb_cuda_capture_begin(hyb_cuda_queue *q, hybrid_error *error)
{
    hyb_cuda_caller caller;
    int code;
    if (q->failure.result) return hyb_kept(&q->failure, error);
    caller = hyb_cuda_enter(q->cu);
    code = q->cu->driver.api.cuStreamBeginCapture(q->stream, HYB_CU_CAPTURE_RELAXED);
    q->capturing = !code;
    q->capture_start = q->n_launches;
    hyb_cuda_leave(q->cu, caller);
    return code ? hyb_cuda_graph_fail(q, code, "beginning a capture", error) : HYBRID_OK;
}

/* The recorded work as a graph that can be launched. When only the capture failed, the queue is as good as before:
 * run without a graph. */
static hybrid_result hyb_cuda_capture_end(hyb_cuda_queue *q, hyb_cuda_graph **out, hybrid_error *error)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_graph *g;
    hybrid_result r = HYBRID_OK;
    hyb_cuda_caller caller;
    void *graph = NULL;
    int code;
    *out = NULL;
    if (!q->capturing) {
        if (q->failure.result) return hyb_kept(&q->failure, error);
        return hyb_fail(error, HYBRID_ERROR_INVALID, "the GPU: there is no capture to end");
    }
    caller = hyb_cuda_enter(q->cu);
    code = api->cuStreamEndCapture(q->stream, &graph);
    q->capturing = false;
    if (q->failure.result) {
        r = hyb_kept(&q->failure, error);
        if (q->refused) q->failure.result = HYBRID_OK;
        q->refused = false;
    } else if (code || !graph)
        r = hyb_cuda_graph_fail(q, code ? code : HYB_CU_CAPTURE_INVALIDATED, "ending a capture", error);
    else if (!(g = (hyb_cuda_graph *)hyb_calloc(q->cu->rt, 1, sizeof *g)))
        r = hyb_fail_memory(error, sizeof *g);
    else {
        g->n_launches = q->n_launches - q->capture_start;
        if (api->cuGraphInstantiateWithFlags)
            code = api->cuGraphInstantiateWithFlags(&g->executable, graph, 0);
        else if (api->cuGraphInstantiate_v2)
            code = api->cuGraphInstantiate_v2(&g->executable, graph, NULL, NULL, 0);
        else
            code = HYB_CU_CAPTURE_UNSUPPORTED;
        if (!code)
            *out = g;
        else {
            hyb_free(q->cu->rt, g);
            r = hyb_cuda_graph_fail(q, code, "making a graph", error);
        }
    }
    if (graph) api->cuGraphDestroy(graph);
    hyb_cuda_leave(q->cu, caller);
    return r;
}

/* When this fails, nothing of the graph runs: its work can be put into the queue piece by piece, unless the queue
 * has failed. */
static hybrid_result hyb_cuda_graph_launch(hyb_cuda_queue *q, const hyb_cuda_graph *graph, hybrid_error *error)
{
    hyb_cuda_caller caller;
    int code;
    if (q->failure.result || hyb_cuda_refuse(q, "another graph")) return hyb_kept(&q->failure, error);
    caller = hyb_cuda_enter(q->cu);
    code = q->cu->driver.api.cuGraphLaunch(graph->executable, q->stream);
    hyb_cuda_leave(q->cu, caller);
    if (code) return hyb_cuda_graph_fail(q, code, "running a captured graph", error);
    q->n_graph_launches++;
    return HYBRID_OK;
}

/* Nothing may be running it: sync first. NULL is nothing. */
static void hyb_cuda_graph_destroy(hyb_cuda *cu, hyb_cuda_graph *graph)
{
    hyb_cuda_caller caller;
    if (!graph) return;
    caller = hyb_cuda_enter(cu);
    cu->driver.api.cuGraphExecDestroy(graph->executable);
    hyb_cuda_leave(cu, caller);
    hyb_free(cu->rt, graph);
}
#endif
