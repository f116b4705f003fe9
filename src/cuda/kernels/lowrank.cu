/* lowrank: dense algebra of matrices of few columns, all sums in double: columns made orthonormal, the factors of a
 * product of two such matrices, and what factors leave of a matrix. Needs prelude. compute/cpu/orthogonal.c has the
 * same steps, and says where they come from. What is done depends on flags in device memory, so that no host waits. */

enum { COLUMNS = 64, PARTS = 32 };

/* The sum over the 256 threads of a block, to all of them. */
DEVICE double block_total(double x, double *lanes)
{
    block_sync(); /* the last total has been read */
    lanes[threadIdx.x] = x;
    block_sync();
    for (int h = 128; h; h /= 2) {
        if ((int)threadIdx.x < h) lanes[threadIdx.x] += lanes[threadIdx.x + h];
        block_sync();
    }
    return lanes[0];
}

/* parts (PARTS, n, n): each block's rows of y^T y, of y (rows, n). grid PARTS, block 256. */
KERNEL __launch_bounds__(256) columns_gram(const float *y, i64 rows, int n, double *parts)
{
    const i64 share = (rows + PARTS - 1) / PARTS, first = blockIdx.x * share;
    const i64 last = first + share < rows ? first + share : rows;
    for (int at = threadIdx.x; at < n * n; at += 256) {
        const int i = at / n, j = at % n;
        double sum = 0;
        for (i64 row = first; row < last; row++) sum += (double)y[row * n + i] * (double)y[row * n + j];
        parts[(i64)blockIdx.x * n * n + at] = sum;
    }
}

/* out (n, n) = the sum of the parts. Of a block of 64. */
DEVICE void gram_of_parts(const double *parts, int n, double *out)
{
    for (int at = threadIdx.x; at < n * n; at += 64) {
        double sum = 0;
        for (int part = 0; part < PARTS; part++) sum += parts[part * n * n + at];
        out[at] = sum;
    }
    block_sync();
}

/* g = r^T r, of the parts of g; r on and above the diagonal. *bad = 1: a column is, as good as, a sum of those before
 * it; in the second round nothing is done then. One block of 64. */
KERNEL __launch_bounds__(64) columns_cholesky(const double *parts, int n, double *g, double *bad, int second)
{
    if (second && *bad != 0) return;
    gram_of_parts(parts, n, g);
    if (threadIdx.x == 0) *bad = 0;
    for (int i = 0; i < n; i++) {
        const double whole = g[i * n + i];
        double pivot = whole;
        for (int k = 0; k < i; k++) pivot -= g[k * n + i] * g[k * n + i];
        block_sync(); /* all have read it */
        if (!(pivot > 1e-13 * whole)) {
            if (threadIdx.x == 0) *bad = 1;
            return;
        }
        pivot = sqrt(pivot);
        if (threadIdx.x == 0) g[i * n + i] = pivot;
        for (int j = i + 1 + (int)threadIdx.x; j < n; j += 64) {
            double sum = g[i * n + j];
            for (int k = 0; k < i; k++) sum -= g[k * n + i] * g[k * n + j];
            g[i * n + j] = sum / pivot;
        }
        block_sync(); /* this row of r is there */
    }
}

/* y = y r^-1, a row a thread, unless it is bad. grid rows / 64, block 64. */
KERNEL __launch_bounds__(64) columns_solve(float *y, i64 rows, int n, const double *r, const double *bad)
{
    __shared__ double solved[COLUMNS * 64];
    double *q = solved + threadIdx.x; /* a value of a row every 64 */
    const i64 row = (i64)blockIdx.x * 64 + threadIdx.x;
    if (*bad != 0 || row >= rows) return;
    for (int i = 0; i < n; i++) {
        double sum = (double)y[row * n + i];
        for (int k = 0; k < i; k++) sum -= q[k * 64] * r[k * n + i];
        q[i * 64] = sum / r[i * n + i];
    }
    for (int i = 0; i < n; i++) y[row * n + i] = (float)q[i * 64];
}

DEVICE double column_dot(const float *y, i64 rows, int n, int a, int b, double *lanes)
{
    double sum = 0;
    for (i64 row = threadIdx.x; row < rows; row += 256) sum += (double)y[row * n + a] * (double)y[row * n + b];
    return block_total(sum, lanes);
}

DEVICE void column_divide(float *y, i64 rows, int n, int i, double by)
{
    for (i64 row = threadIdx.x; row < rows; row += 256) y[row * n + i] = (float)((double)y[row * n + i] / by);
}

/* Gram and Schmidt, each column until cleaning it changes nothing, if it is bad. A thread has the same rows throughout.
 * One block of 256. */
KERNEL __launch_bounds__(256) columns_gram_schmidt(float *y, i64 rows, int n, const double *bad)
{
    __shared__ double lanes[256];
    if (*bad == 0) return;
    for (int i = 0; i < n; i++) {
        const double before = sqrt(column_dot(y, rows, n, i, i, lanes));
        bool clean = false;
        if (before > 0) column_divide(y, rows, n, i, before);
        for (int round = 0; before > 0 && !clean && round < 4; round++) {
            for (int k = 0; k < i; k++) {
                const double dot = column_dot(y, rows, n, k, i, lanes);
                for (i64 row = threadIdx.x; row < rows; row += 256)
                    y[row * n + i] = (float)((double)y[row * n + i] - dot * (double)y[row * n + k]);
            }
            const double length = sqrt(column_dot(y, rows, n, i, i, lanes));
            if (!(length > 0)) break;
            column_divide(y, rows, n, i, length);
            clean = length > 0.9;
        }
        for (i64 row = threadIdx.x; row < rows && !clean; row += 256) y[row * n + i] = 0;
    }
}

/* The largest eigenvalue comes first, and of each vector the largest component is positive. */
DEVICE void eigen_sort(double *a, double *v, int n)
{
    for (int i = 0; i < n; i++) {
        int best = i, largest = 0;
        for (int j = i + 1; j < n; j++)
            if (a[j * n + j] > a[best * n + best]) best = j;
        const double value = a[i * n + i];
        a[i * n + i] = a[best * n + best];
        a[best * n + best] = value;
        for (int k = 0; k < n; k++) {
            const double x = v[k * n + i];
            v[k * n + i] = v[k * n + best];
            v[k * n + best] = x;
            if (fabs(v[k * n + i]) > fabs(v[largest * n + i])) largest = k;
        }
        const bool turns = v[largest * n + i] < 0;
        for (int k = 0; turns && k < n; k++) v[k * n + i] = -v[k * n + i];
    }
}

/* Eigenvalues of the sum of the parts, onto the diagonal of a, and their vectors, columns of v: Jacobi's rotations, one
 * after the other in the order of the host. One block of 64. */
KERNEL __launch_bounds__(64) gram_eigen(const double *parts, int n, double *a, double *v)
{
    const int k = threadIdx.x;
    bool turned = true;
    for (int at = k; at < n * n; at += 64) v[at] = at / n == at % n ? 1 : 0;
    gram_of_parts(parts, n, a);
    for (int sweep = 0; sweep < 40 && turned; sweep++) {
        turned = false;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                const double pq = a[p * n + q], pp = a[p * n + p], qq = a[q * n + q], beside = fabs(pq);
                if (!(beside > 1e-17 * (fabs(pp) + fabs(qq))) || !(beside > 2.2250738585072014e-308)) continue;
                const double theta = (qq - pp) / (2 * pq);
                const double t = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                turned = true;
                block_sync(); /* all have read them */
                if (k < n) {
                    const double x = a[k * n + p], y = a[k * n + q], vx = v[k * n + p], vy = v[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                    v[k * n + p] = c * vx - s * vy;
                    v[k * n + q] = s * vx + c * vy;
                }
                block_sync(); /* columns are turned, rows come */
                if (k < n) {
                    const double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = k == q ? 0 : c * x - s * y;
                    a[q * n + k] = k == p ? 0 : s * x + c * y;
                }
                block_sync();
            }
    }
    block_sync(); /* nobody reads them any more */
    if (k == 0) eigen_sort(a, v, n);
}

/* sigma = the roots of a's diagonal, left (rows, rank) = y v, right (rank, cols) = (z v)^T / sigma; zeros where sigma
 * is. grid (rows + cols) / 256, block 256: a row of y or of z each. */
struct factors_args {
    const float *y, *z;
    i64 rows, cols;
    int n, rank;
    const double *a, *v;
    float *left, *right, *sigma;
};
KERNEL __launch_bounds__(256) factors(const factors_args a)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= a.rows + a.cols) return;
    const bool is_left = i < a.rows;
    const float *from = is_left ? a.y + i * a.n : a.z + (i - a.rows) * a.n;
    for (int k = 0; k < a.rank; k++) {
        const double square = a.a[k * a.n + k], sigma = square > 0 ? sqrt(square) : 0;
        double sum = 0;
        for (int l = 0; l < a.n; l++) sum += (double)from[l] * a.v[l * a.n + k];
        if (!is_left) sum /= sigma;
        if (!((float)sigma > 0)) sum = 0;
        if (is_left)
            a.left[i * a.rank + k] = (float)sum;
        else
            a.right[k * a.cols + i - a.rows] = (float)sum;
        if (i == 0) a.sigma[k] = (float)sigma;
    }
}

/* rest = x + add - left diag(sigma) right, which is written unless *bound is `most` or above, or no number; parts: the
 * sums of its squares. add, rest and bound may be NULL. grid at most 256, block 256. */
struct deflate_args {
    const float *x, *add, *left, *sigma, *right;
    i64 rows, cols;
    int rank;
    float *rest;
    const double *bound;
    double most;
    double *parts;
};
KERNEL __launch_bounds__(256) deflate(const deflate_args a)
{
    __shared__ double left[COLUMNS], lanes[256];
    const bool writes = a.rest && (!a.bound || *a.bound < a.most);
    double squares = 0;
    for (i64 row = blockIdx.x; row < a.rows; row += gridDim.x) {
        block_sync(); /* the last row's have been read */
        if ((int)threadIdx.x < a.rank)
            left[threadIdx.x] = (double)a.left[row * a.rank + threadIdx.x] * (double)a.sigma[threadIdx.x];
        block_sync();
        for (i64 j = threadIdx.x; j < a.cols; j += 256) {
            const i64 at = row * a.cols + j;
            double rest = (double)(a.add ? a.x[at] + a.add[at] : a.x[at]);
            for (int k = 0; k < a.rank; k++) rest -= left[k] * (double)a.right[k * a.cols + j];
            if (writes) a.rest[at] = (float)rest;
            squares += rest * rest;
        }
    }
    squares = block_total(squares, lanes);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = squares;
}
