/* experts: around the products of mixtures of experts: which experts a row goes to, and which rows go to an expert.
 * Both are decided here and stay here: the host never knows. Exact, and the same every time. Needs prelude. -DBACK: the
 * way back through the weights of the choice, and around the products (gemm_f32.cu). */
enum { EXPERTS_MAX = 1024, USED_MAX = 64, PLACES = 8 }; /* PLACES: an expert's rows begin at a multiple */
enum { SOFTMAX, SIGMOID };

#ifndef BACK
/* Logits (n, n_expert) to ids and weights (n, n_used): those of the largest logits, the largest first, of equal ones
 * the lower id; a NaN is read as -inf. Weights: SOFTMAX of all logits, or of the chosen ones (norm); SIGMOID of each;
 * times scale. A row a block, an expert a thread, which counts how many come before its own. grid n, block n_expert
 * rounded up to warps. */
KERNEL __launch_bounds__(EXPERTS_MAX)
    route(const float *logits, int n_expert, int n_used, int kind, int norm, float scale, int *ids, float *weights)
{
    __shared__ float all[EXPERTS_MAX], chosen[USED_MAX], warps[32];
    const int id = threadIdx.x, lane = id % 32, warp = id / 32, n_warps = blockDim.x / 32;
    const i64 row = blockIdx.x;
    const float lowest = -__int_as_float(0x7F800000);
    float x = id < n_expert ? logits[row * n_expert + id] : lowest;
    if (x != x) x = lowest;
    all[id] = x;
    float most = warp_max(x);
    if (lane == 0) warps[warp] = most;
    block_sync();
    for (int w = 0; w < n_warps; w++) most = fmaxf(most, warps[w]);
    const float e = expf(x - (most < -3.4e38f ? 0.0f : most)); /* all -inf: no NaN from it */
    const float sum = warp_sum(e);
    int rank = 0;
    for (int j = 0; j < n_expert; j++) rank += all[j] > x || (all[j] == x && j < id);
    block_sync(); /* the maxima have been read */
    if (lane == 0) warps[warp] = sum;
    if (id < n_expert && rank < n_used) {
        ids[row * n_used + rank] = id;
        chosen[rank] = kind == SOFTMAX ? e : 1.0f / (1.0f + expf(-x));
    }
    block_sync();
    if (id >= n_used) return;
    float total = kind == SOFTMAX ? 0.0f : 1.0f;
    if (kind == SOFTMAX && norm)
        for (int s = 0; s < n_used; s++) total += chosen[s];
    else if (kind == SOFTMAX)
        for (int w = 0; w < n_warps; w++) total += warps[w];
    weights[row * n_used + id] = chosen[id] / total * scale;
}

#else

/* Of route, whose choice is taken as it was made: with g = dweights scale,
 *
 *   SOFTMAX, all:   dlogits_i = p_i (g of i, or 0 where it was not chosen - the sum of g p over the chosen)
 *   SOFTMAX, norm:  the same with p over the chosen alone; 0 where it was not chosen
 *   SIGMOID:        dlogits_i = g s (1 - s), s = sigmoid(logit), or 0
 *
 * A row a block, an expert a thread. grid n, block n_expert rounded up to warps. */
KERNEL __launch_bounds__(EXPERTS_MAX) route_back(const float *logits, int n_expert, int n_used, int kind, int norm,
                                                 float scale, const int *ids, const float *dweights, float *dlogits)
{
    __shared__ float g[EXPERTS_MAX], e[EXPERTS_MAX], warps[32];
    __shared__ int chosen[USED_MAX];
    const int id = threadIdx.x, n_warps = blockDim.x / 32;
    const i64 row = blockIdx.x;
    const float x = id < n_expert ? logits[row * n_expert + id] : 0.0f;
    bool mine = false; /* this expert was chosen */
    g[id] = 0;
    if (id < n_used) chosen[id] = ids[row * n_used + id];
    block_sync();
    if (id < n_used) g[chosen[id]] = dweights[row * n_used + id] * scale;
    for (int s = 0; s < n_used; s++) mine = mine || chosen[s] == id;
    e[id] = id < n_expert ? expf(x - logits[row * n_expert + chosen[0]]) : 0.0f;
    const float all = warp_sum(e[id]);
    if (id % 32 == 0) warps[id / 32] = all;
    block_sync();
    if (id >= n_expert) return;
    if (kind == SIGMOID) {
        const float s = 1.0f / (1.0f + expf(-x));
        dlogits[row * n_expert + id] = mine ? g[id] * s * (1.0f - s) : 0.0f;
        return;
    }
    float sum = 0, along = 0;
    for (int s = 0; s < n_used && norm; s++) sum += e[chosen[s]];
    for (int w = 0; w < n_warps && !norm; w++) sum += warps[w];
    for (int s = 0; s < n_used; s++) along = fmaf(g[chosen[s]], e[chosen[s]] / sum, along);
    dlogits[row * n_expert + id] = mine || !norm ? e[id] / sum * (g[id] - along) : 0.0f;
}

/* out (rows, n) = x * weights (rows); before that dots (rows) = the sum of x y over a row; y and dots may be NULL. out
 * may be x. grid rows, block 256. */
KERNEL __launch_bounds__(256) weigh(const float *x, i64 x_stride, const float *y, i64 y_stride, const float *weights,
                                    int n, float *dots, float *out, i64 out_stride)
{
    __shared__ float warps[8];
    const i64 row = blockIdx.x;
    const float weight = weights[row];
    float dot = 0;
    for (int i = threadIdx.x; i < n; i += 256) {
        const float v = x[row * x_stride + i];
        if (y) dot = fmaf(v, y[row * y_stride + i], dot);
        out[row * out_stride + i] = v * weight;
    }
    if (!y) return;
    dot = warp_sum(dot);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = dot;
    block_sync();
    if (threadIdx.x) return;
    for (int w = 1; w < 8; w++) dot += warps[w];
    dots[row] = dot;
}

/* dx (rows, k) = add + those of the choices of each row, in their order. add may be NULL. dx may be add. grid (k / 256,
 * rows), block 256. */
KERNEL __launch_bounds__(256) sum_choices(const float *of_choices, int n_used, int k, const float *add, float *dx)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x);
    const i64 row = blockIdx.y;
    if (i >= k) return;
    float sum = add ? add[row * k + i] : 0.0f;
    for (int s = 0; s < n_used; s++) sum += of_choices[(row * n_used + s) * k + i];
    dx[row * k + i] = sum;
}
#endif

DEVICE int lanes_sum(int v)
{
    for (int mask = 16; mask > 0; mask >>= 1) v += shfl_xor(v, mask);
    return v;
}

/* Those of the numbers first ... last - 1 whose id is the expert's, in their order, to order from `at` on. A warp. */
DEVICE void put_in_order(const int *ids, int expert, int first, int last, int at, int *order)
{
    const int lane = threadIdx.x % 32;
    for (int i = first; i < last; i += 32) {
        const int hit = i + lane < last && ids[i + lane] == expert;
        int upto = hit; /* hits of the lanes up to this one */
        #pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            const int other = shfl(upto, (lane - d) & 31);
            if (lane >= d) upto += other;
        }
        if (hit) order[at + upto - 1] = i + lane;
        at += shfl(upto, 31);
    }
}

#ifndef BACK
/* Sorts the numbers 0 ... n_pairs - 1 by ids[number], stably: order[place] = number, where the places of an expert
 * begin at a multiple of 8 after those of the expert before, and those that are left over up to there have -1. map:
 * for tiles of up to `tile` places of one expert (a multiple of 8) in order: expert, first place, how many. total:
 * tiles, places.
 *
 * A block an expert: each counts all, which is cheaper than a launch to count, and puts its own. A warp has a piece
 * of the ids. grid n_expert, block 256. */
KERNEL __launch_bounds__(256) sort_by_expert(const int *ids, int n_pairs, int tile, int *order, int4 *map, int *total)
{
    __shared__ int counts[EXPERTS_MAX], own[8], places_below[8], tiles_below[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, expert = blockIdx.x, n_expert = gridDim.x;
    const int span = (n_pairs + 255) / 256 * 32, first = min(warp * span, n_pairs), last = min(first + span, n_pairs);
    for (int i = threadIdx.x; i < n_expert; i += 256) counts[i] = 0;
    block_sync();
    int mine = 0;
    for (int i = first + lane; i < last; i += 32) {
        const int id = ids[i];
        mine += id == expert;
        atomicAdd(&counts[id], 1);
    }
    mine = lanes_sum(mine);
    if (lane == 0) own[warp] = mine;
    block_sync();
    int places = 0, tiles = 0;
    for (int i = threadIdx.x; i < expert; i += 256) {
        places += (counts[i] + PLACES - 1) / PLACES * PLACES;
        tiles += (counts[i] + tile - 1) / tile;
    }
    places = lanes_sum(places);
    tiles = lanes_sum(tiles);
    if (lane == 0) {
        places_below[warp] = places;
        tiles_below[warp] = tiles;
    }
    block_sync();
    places = tiles = 0;
    for (int w = 0; w < 8; w++) {
        places += places_below[w];
        tiles += tiles_below[w];
    }
    const int count = counts[expert], end = places + (count + PLACES - 1) / PLACES * PLACES;
    if (expert == n_expert - 1 && threadIdx.x == 0) {
        total[0] = tiles + (count + tile - 1) / tile;
        total[1] = end;
    }
    for (int i = threadIdx.x; i * tile < count; i += 256)
        map[tiles + i] = make_int4(expert, places + i * tile, min(tile, count - i * tile), 0);
    for (int i = places + count + threadIdx.x; i < end; i += 256) order[i] = -1;
    int at = places;
    for (int w = 0; w < warp; w++) at += own[w];
    if (own[warp] > 0) put_in_order(ids, expert, first, last, at, order);
}

#else

/* The same without gaps and tiles: those of expert e are at begin[e] ... begin[e + 1]. grid n_expert, block 256. */
KERNEL __launch_bounds__(256) order_choices(const int *ids, int n, int *begin, int *order)
{
    __shared__ int lower[8], equal[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, expert = blockIdx.x;
    const int span = (n + 255) / 256 * 32, first = min(warp * span, n), last = min(first + span, n);
    int before = 0, mine = 0, at = 0;
    for (int i = first + lane; i < last; i += 32) {
        before += ids[i] < expert;
        mine += ids[i] == expert;
    }
    before = lanes_sum(before);
    mine = lanes_sum(mine);
    if (lane == 0) {
        lower[warp] = before;
        equal[warp] = mine;
    }
    block_sync();
    for (int w = 0; w < 8; w++) at += lower[w];
    if (threadIdx.x == 0) begin[expert] = at;
    if (threadIdx.x == 0 && expert == (int)gridDim.x - 1) begin[expert + 1] = n;
    for (int w = 0; w < warp; w++) at += equal[w];
    if (mine) put_in_order(ids, expert, first, last, at, order);
}
#endif
