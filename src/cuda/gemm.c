/* cuda/gemm: large products by cuBLAS. */
#ifndef HYB_CUDA_GEMM_C
#define HYB_CUDA_GEMM_C
#include "queue.c"

/* The call itself: see hyb_cuda_gemm. Returns cuBLAS' status. */
static int hyb_blas_gemm(hyb_cuda *cu, void *handle, int w_type, const void *w, int ldw, const void *x, int ldx,
                         int y_type, void *y, int ldy, int n_rows, int n_out, int n_in, bool add)
{
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    return cu->blas->api.cublasGemmEx(handle, HYB_CUBLAS_OP_T, HYB_CUBLAS_OP_N, n_out, n_rows, n_in, &alpha, w, w_type,
                                      ldw, x, w_type, ldx, &beta, y, y_type, ldy, HYB_CUBLAS_COMPUTE_32F,
                                      HYB_CUBLAS_GEMM_DEFAULT);
}

enum { HYB_PROOF_N = 64, HYB_PROOF_HALF = HYB_PROOF_N * HYB_PROOF_N * 2, HYB_PROOF_BYTES = 4 * HYB_PROOF_HALF };

static float hyb_proof_value(int i, int j, int m) { return (float)((i * 7 + j * 3) % m - m / 2); }

/* A product of small whole numbers, which every order of summation gets exactly. host: HYB_PROOF_BYTES. */
static bool hyb_blas_is_right(hyb_cuda_queue *q, void *handle, void *device, char *host)
{
    uint16_t *w = (uint16_t *)(void *)host;
    float *y = (float *)(void *)(host + 2 * HYB_PROOF_HALF);
    char *d = (char *)device;
    const int n = HYB_PROOF_N;
    int i, j, k;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            w[i * n + j] = hyb_f32_to_f16(hyb_proof_value(i, j, 5));
            w[n * n + i * n + j] = hyb_f32_to_f16(hyb_proof_value(i, j, 7));
        }
    hyb_cuda_write(q, d, host, 2 * HYB_PROOF_HALF);
    if (hyb_blas_gemm(q->cu, handle, HYB_CUDA_R_16F, d, n, d + HYB_PROOF_HALF, n, HYB_CUDA_R_32F,
                      d + 2 * HYB_PROOF_HALF, n, n, n, n, false))
        return false;
    hyb_cuda_read(q, y, d + 2 * HYB_PROOF_HALF, 2 * HYB_PROOF_HALF);
    if (hyb_cuda_sync(q, NULL)) return false;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            float sum = 0;
            for (k = 0; k < n; k++) sum += hyb_proof_value(i, k, 7) * hyb_proof_value(j, k, 5);
            if (y[i * n + j] != sum) return false;
        }
    return true;
}

/* Once for each device, checks that this cuBLAS computes right: some mixtures of installations give wrong numbers
 * without an error. */
static hybrid_result hyb_blas_prove(hyb_cuda_queue *q, void *handle, hybrid_error *error)
{
    hyb_cuda *cu = q->cu;
    char *host;
    void *device;
    hybrid_result r;
    const bool rehearsing = q->rehearsing;
    bool right;
    if (hyb_atomic_load(&cu->blas_proven)) return HYBRID_OK;
    if (!(host = (char *)hyb_alloc(cu->rt, HYB_PROOF_BYTES))) return hyb_fail_memory(error, HYB_PROOF_BYTES);
    if ((r = hyb_cuda_alloc(cu, HYB_PROOF_BYTES, &device, error)) == HYBRID_OK) {
        q->rehearsing = false; /* this one runs */
        right = hyb_blas_is_right(q, handle, device, host);
        q->rehearsing = rehearsing;
        hyb_cuda_free(cu, device);
        if (right)
            hyb_atomic_store(&cu->blas_proven, 1);
        else
            r = hyb_fail(error, HYBRID_ERROR_DEVICE,
                         "cuBLAS %d.%d at %.100s computes a wrong product: its parts may come from different "
                         "installations; own kernels do it",
                         cu->blas->version[0], cu->blas->version[1], cu->blas->library.path);
    }
    hyb_free(cu->rt, host);
    return r;
}

/* The handle of a queue, made on the first call (not while capturing); NULL, and the reason, when there is none. What
 * failed once is not tried again. */
static void *hyb_cuda_queue_blas(hyb_cuda_queue *q, hybrid_error *why)
{
    hybrid_error reason;
    hybrid_result r;
    hyb_cuda_caller caller;
    if (q->blas.handle) return q->blas.handle;
    if (q->capturing || q->failure.result || q->no_blas) {
        hyb_fail(why, HYBRID_ERROR_INVALID, "cuBLAS is not opened: %s",
                 q->capturing        ? "a capture is under way"
                 : q->failure.result ? "the queue has failed"
                                     : "that failed before (see the log)");
        return NULL;
    }
    if (!hyb_cuda_blas(q->cu, why)) return NULL;
    caller = hyb_cuda_enter(q->cu);
    reason.message[0] = 0;
    r = hyb_blas_create(q->cu, q->stream, &q->blas, &reason);
    if (!r && (r = hyb_blas_prove(q, q->blas.handle, &reason)) != HYBRID_OK) hyb_blas_give(q->cu, &q->blas);
    hyb_cuda_leave(q->cu, caller);
    if (r) {
        q->no_blas = true;
        hyb_log(q->cu->rt, HYBRID_LOG_WARN, "cuda: %s", reason.message);
        if (why) *why = reason;
    }
    return q->blas.handle;
}

/* y (n_rows, n_out) = x (n_rows, n_in) * w (n_out, n_in)^T [+ y]: all row-major, ld*: elements from row to row. w and x
 * are of w_type (HYB_CUDA_R_16F, _16BF or _32F), y of y_type; sums are float32. False: there is no cuBLAS, nothing
 * was done. */
static bool hyb_cuda_gemm(hyb_cuda_queue *q, int w_type, const void *w, int ldw, const void *x, int ldx, int y_type,
                          void *y, int ldy, int n_rows, int n_out, int n_in, bool add)
{
    hyb_cuda_caller caller;
    void *handle;
    int status;
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "a product");
    if (!(handle = hyb_cuda_queue_blas(q, NULL))) return false;
    if (q->failure.result || q->rehearsing || !n_rows || !n_out) return true;
    caller = hyb_cuda_enter(q->cu);
    status = hyb_blas_gemm(q->cu, handle, w_type, w, ldw, x, ldx, y_type, y, ldy, n_rows, n_out, n_in, add);
    hyb_cuda_leave(q->cu, caller);
    q->n_launches++;
    if (!status) return true;
    q->refused = q->capturing; /* outside of a recording it may work */
    hyb_keep(&q->failure, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d with %d rows failed (status %d)",
             n_out, n_in, n_rows, status);
    return true;
}

#ifndef HYBRID_NO_TRAIN
/* c (m, n) = a (m, p) . b (p, n), or c += that, all of float32 (by cuBLAS a and b may be of 16 bits). a_m, a_p: floats
 * from one row or column of a to the next, one of them 1; those of b and c are side by side in their rows. The
 * structure of kernels/gemm_f32.cu. */
typedef struct hyb_cuda_product_back {
    const float *a, *b;
    float *c;
    int64_t a_m, a_p, b_p, c_m;
    int32_t m, n, p, add;
} hyb_cuda_product_back;

/* False: there is no cuBLAS, nothing was done. It counts columns first: c^T = b^T . a^T. type: of a and b. */
static bool hyb_cuda_gemm_back(hyb_cuda_queue *q, int type, const hyb_cuda_product_back *o)
{
    const float alpha = 1.0f, beta = o->add ? 1.0f : 0.0f;
    const bool rows = o->a_p == 1;
    const int64_t lda = !rows ? o->a_p : o->m > 1 ? o->a_m : o->p; /* a column of p rows has a_m 1, too */
    hyb_cuda_caller caller;
    void *handle;
    int status;
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "a product");
    if (!(handle = hyb_cuda_queue_blas(q, NULL))) return false;
    if (q->failure.result || q->rehearsing || !o->m || !o->n) return true;
    caller = hyb_cuda_enter(q->cu);
    status =
        q->cu->blas->api.cublasGemmEx(handle, HYB_CUBLAS_OP_N, rows ? HYB_CUBLAS_OP_N : HYB_CUBLAS_OP_T, o->n, o->m,
                                      o->p, &alpha, o->b, type, (int)o->b_p, o->a, type, (int)lda, &beta, o->c,
                                      HYB_CUDA_R_32F, (int)o->c_m, HYB_CUBLAS_COMPUTE_32F, HYB_CUBLAS_GEMM_DEFAULT);
    hyb_cuda_leave(q->cu, caller);
    q->n_launches++;
    if (status)
        hyb_keep(&q->failure, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d x %d failed (status %d)",
                 (int)o->m, (int)o->p, (int)o->n, status);
    return true;
}
#endif
#endif
