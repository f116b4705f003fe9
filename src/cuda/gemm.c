/* cuda/gemm: large products by cuBLAS. */

/* The handle of a queue, made on the first call (not while capturing); NULL, and the reason, when there is none. */
static void *hybrid__cuda_queue_blas(hybrid__cuda_queue *q, hybrid_error *why)
{
    void *caller;
    if (q->blas.handle) return q->blas.handle;
    if (q->capturing) {
        hybrid__fail(why, HYBRID_ERROR_INVALID, "cuBLAS must be opened before a capture");
        return NULL;
    }
    if (!hybrid__cuda_blas(q->cu, why)) return NULL;
    caller = hybrid__cuda_enter(q->cu);
    hybrid__blas_create(q->cu, q->stream, &q->blas, why);
    hybrid__cuda_leave(q->cu, caller);
    return q->blas.handle;
}

/* y (n_rows, n_out) = x (n_rows, n_in) * w (n_out, n_in)^T [+ y]: all row-major, ld*: elements from row to row. w and x are of w_type
 * (HYBRID__CUDA_R_16F, _16BF or _32F), y of y_type; sums are float32. False: there is no cuBLAS, nothing was done. */
static bool hybrid__cuda_gemm(hybrid__cuda_queue *q, int w_type, const void *w, int ldw, const void *x, int ldx, int y_type, void *y, int ldy,
                              int n_rows, int n_out, int n_in, bool add)
{
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    void *handle, *caller;
    int status;
    if (!(handle = hybrid__cuda_queue_blas(q, NULL))) return false;
    if (q->result || q->rehearsing || !n_rows || !n_out) return true;
    caller = hybrid__cuda_enter(q->cu);
    status = q->cu->blas->api.cublasGemmEx(handle, HYBRID__CUBLAS_OP_T, HYBRID__CUBLAS_OP_N, n_out, n_rows, n_in, &alpha, w, w_type, ldw, x, w_type, ldx, &beta, y, y_type, ldy,
                                           HYBRID__CUBLAS_COMPUTE_32F, HYBRID__CUBLAS_GEMM_DEFAULT);
    hybrid__cuda_leave(q->cu, caller);
    q->n_launches++;
    if (status) q->result = hybrid__fail(&q->error, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d with %d rows failed (status %d)", n_out, n_in, n_rows, status);
    return true;
}
