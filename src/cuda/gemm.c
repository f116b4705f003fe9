/* cuda/gemm: large products by cuBLAS. */

/* The call itself: see hybrid__cuda_gemm. Returns cuBLAS' status. */
static int hybrid__blas_gemm(hybrid__cuda *cu, void *handle, int w_type, const void *w, int ldw, const void *x, int ldx, int y_type, void *y, int ldy,
                             int n_rows, int n_out, int n_in, bool add)
{
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    return cu->blas->api.cublasGemmEx(handle, HYBRID__CUBLAS_OP_T, HYBRID__CUBLAS_OP_N, n_out, n_rows, n_in, &alpha, w, w_type, ldw, x, w_type, ldx, &beta, y, y_type, ldy,
                                      HYBRID__CUBLAS_COMPUTE_32F, HYBRID__CUBLAS_GEMM_DEFAULT);
}

enum { HYBRID__PROOF_N = 64, HYBRID__PROOF_HALF = HYBRID__PROOF_N * HYBRID__PROOF_N * 2, HYBRID__PROOF_BYTES = 4 * HYBRID__PROOF_HALF };

static float hybrid__proof_value(int i, int j, int m) { return (float)((i * 7 + j * 3) % m - m / 2); }

/* A product of small whole numbers, which every order of summation gets exactly. host: HYBRID__PROOF_BYTES. */
static bool hybrid__blas_is_right(hybrid__cuda_queue *q, void *handle, void *device, char *host)
{
    uint16_t *w = (uint16_t *)(void *)host;
    float *y = (float *)(void *)(host + 2 * HYBRID__PROOF_HALF);
    char *d = (char *)device;
    const int n = HYBRID__PROOF_N;
    int i, j, k;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            w[i * n + j] = hybrid__f32_to_f16(hybrid__proof_value(i, j, 5));
            w[n * n + i * n + j] = hybrid__f32_to_f16(hybrid__proof_value(i, j, 7));
        }
    hybrid__cuda_write(q, d, host, 2 * HYBRID__PROOF_HALF);
    if (hybrid__blas_gemm(q->cu, handle, HYBRID__CUDA_R_16F, d, n, d + HYBRID__PROOF_HALF, n, HYBRID__CUDA_R_32F, d + 2 * HYBRID__PROOF_HALF, n, n, n, n, false)) return false;
    hybrid__cuda_read(q, y, d + 2 * HYBRID__PROOF_HALF, 2 * HYBRID__PROOF_HALF);
    if (hybrid__cuda_sync(q, NULL)) return false;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            float sum = 0;
            for (k = 0; k < n; k++) sum += hybrid__proof_value(i, k, 7) * hybrid__proof_value(j, k, 5);
            if (y[i * n + j] != sum) return false;
        }
    return true;
}

/* Once for each device: does this cuBLAS compute? Some mixtures of installations give wrong numbers without an error. */
static hybrid_result hybrid__blas_prove(hybrid__cuda_queue *q, void *handle, hybrid_error *error)
{
    hybrid__cuda *cu = q->cu;
    char *host;
    void *device;
    hybrid_result r;
    const bool rehearsing = q->rehearsing;
    bool right;
    if (hybrid__atomic_load(&cu->blas_proven)) return HYBRID_OK;
    if (!(host = (char *)hybrid__alloc(cu->rt, HYBRID__PROOF_BYTES))) return hybrid__fail_memory(error, HYBRID__PROOF_BYTES);
    if ((r = hybrid__cuda_alloc(cu, HYBRID__PROOF_BYTES, &device, error)) == HYBRID_OK) {
        q->rehearsing = false;                               /* this one runs */
        right = hybrid__blas_is_right(q, handle, device, host);
        q->rehearsing = rehearsing;
        hybrid__cuda_free(cu, device);
        if (right) hybrid__atomic_store(&cu->blas_proven, 1);
        else r = hybrid__fail(error, HYBRID_ERROR_DEVICE, "cuBLAS %d.%d at %.100s computes a wrong product: its parts may come from different installations; own kernels do it",
                              cu->blas->version[0], cu->blas->version[1], cu->blas->library.path);
    }
    hybrid__free(cu->rt, host);
    return r;
}

/* The handle of a queue, made on the first call (not while capturing); NULL, and the reason, when there is none. What failed once is
 * not tried again. */
static void *hybrid__cuda_queue_blas(hybrid__cuda_queue *q, hybrid_error *why)
{
    hybrid_error reason;
    hybrid_result r;
    hybrid__cuda_caller caller;
    if (q->blas.handle) return q->blas.handle;
    if (q->capturing || q->result || q->no_blas) {
        hybrid__fail(why, HYBRID_ERROR_INVALID, "cuBLAS is not opened: %s", q->capturing ? "a capture is under way" : q->result ? "the queue has failed" : "that failed before (see the log)");
        return NULL;
    }
    if (!hybrid__cuda_blas(q->cu, why)) return NULL;
    caller = hybrid__cuda_enter(q->cu);
    reason.message[0] = 0;
    r = hybrid__blas_create(q->cu, q->stream, &q->blas, &reason);
    if (!r && (r = hybrid__blas_prove(q, q->blas.handle, &reason)) != HYBRID_OK) hybrid__blas_give(q->cu, &q->blas);
    hybrid__cuda_leave(q->cu, caller);
    if (r) {
        q->no_blas = true;
        hybrid__log(q->cu->rt, HYBRID_LOG_WARN, "cuda: %s", reason.message);
        if (why) *why = reason;
    }
    return q->blas.handle;
}

/* y (n_rows, n_out) = x (n_rows, n_in) * w (n_out, n_in)^T [+ y]: all row-major, ld*: elements from row to row. w and x are of w_type
 * (HYBRID__CUDA_R_16F, _16BF or _32F), y of y_type; sums are float32. False: there is no cuBLAS, nothing was done. */
static bool hybrid__cuda_gemm(hybrid__cuda_queue *q, int w_type, const void *w, int ldw, const void *x, int ldx, int y_type, void *y, int ldy,
                              int n_rows, int n_out, int n_in, bool add)
{
    hybrid__cuda_caller caller;
    void *handle;
    int status;
    if (hybrid__cuda_orphaned(q->cu)) hybrid__cuda_break(q, HYBRID__CU_FORKED, "a product");
    if (!(handle = hybrid__cuda_queue_blas(q, NULL))) return false;
    if (q->result || q->rehearsing || !n_rows || !n_out) return true;
    caller = hybrid__cuda_enter(q->cu);
    status = hybrid__blas_gemm(q->cu, handle, w_type, w, ldw, x, ldx, y_type, y, ldy, n_rows, n_out, n_in, add);
    hybrid__cuda_leave(q->cu, caller);
    q->n_launches++;
    if (!status) return true;
    q->refused = q->capturing;                               /* outside of a recording it may work */
    q->result = hybrid__fail(&q->error, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d with %d rows failed (status %d)", n_out, n_in, n_rows, status);
    return true;
}
