/* experts: around the products of mixtures of experts: which experts a row goes to, and which rows go to an expert.
 * Both are decided here and stay here: the host never knows. Exact, and the same every time. Needs prelude. */
enum { EXPERTS_MAX = 1024, USED_MAX = 64, PLACES = 8 }; /* PLACES: an expert's rows begin at a multiple */
enum { SOFTMAX, SIGMOID };

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

DEVICE int lanes_sum(int v)
{
    for (int mask = 16; mask > 0; mask >>= 1) v += shfl_xor(v, mask);
    return v;
}

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
    for (int i = first; i < last && own[warp] > 0; i += 32) {
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
