/* predict/member: the weights of one world model: how large, where, and how they begin.
 *
 *     x (70: 64 features of a window, 6 numbers of the action that follows it)
 *     e  = SiLU(LayerNorm(encoder x))                                     128
 *     q  = posterior of z given h and e, p = prior of z given h           2 layers, 4 x 8 classes (latent.c)
 *     h' = GRU(h, [e; z])                                                 128 (gru.c)
 *     heads on [h'; z]: a layer of 128 with SiLU, and then 23 numbers (heads.c)
 *
 * h' has seen the action, so the heads answer for it, and the prior of the next tick says from h' what z will be: the
 * KL between the two is what the tick has shown that nobody expected. The last layer also gets r, the miss of the law
 * in this window: what a straight line through the last value would say.
 *
 * Matrices are (rows, columns), row by row; the column after the first part of the input is the bias. All of a member
 * is one array, so that the norm of the gradients and Adam are one loop. */
#ifndef HYB_PREDICT_MEMBER_C
#define HYB_PREDICT_MEMBER_C
#include "../core/random.c"
#include "../compute/op.c"

/* Streams of random numbers of a world; member m has the m-th of each 256. */
typedef enum hyb_world_stream {
    HYB_STREAM_WEIGHTS,
    HYB_STREAM_WINDOWS,
    HYB_STREAM_HELD,
    HYB_STREAM_SAMPLES,
    HYB_STREAM_ASTRAY
} hyb_world_stream;

static void hyb_world_random(uint64_t seed, hyb_world_stream stream, int member, uint64_t counter, uint32_t out[4])
{
    hyb_philox(seed, ((uint64_t)stream + 1) << 8 | (uint64_t)member, counter, out);
}

/* A matrix: uniform, of variance gain^2 / its number of columns; its bias 0. */
static void hyb_member_fill(float *w, int rows, int columns, int bias, float gain, uint64_t seed, int member,
                            uint64_t *counter)
{
    const float width = gain * sqrtf(3.0f / (float)columns);
    uint32_t random[4];
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < columns; j++) {
            const int at = (i * columns + j) % 4;
            if (!at) hyb_world_random(seed, HYB_STREAM_WEIGHTS, member, (*counter)++, random);
            w[i * columns + j] =
                j == bias ? 0 : width * ((float)(int32_t)(random[at] >> 8) * (2.0f / 16777216.0f) - 1.0f);
        }
}

/* The first weights: each member its own. The deviations begin as one unit, and delta, gain and the rest as nothing. */
static void hyb_member_init(float *w, uint64_t seed, int member)
{
    uint64_t counter = 0;
    float *head = w + HYB_AT_head;
    int i, j;
#define HYB_WEIGHT(name_, rows_, columns_, bias_) \
    hyb_member_fill(w + HYB_AT_##name_, rows_, columns_, bias_, 1.0f, seed, member, &counter);
    HYB_MEMBER_WEIGHTS(HYB_WEIGHT)
#undef HYB_WEIGHT
    for (i = 0; i < HYB_WORLD_UNITS; i++) {
        w[HYB_AT_norm + i] = 1;
        w[HYB_AT_norm + HYB_WORLD_UNITS + i] = 0;
    }
    for (i = 0; i < HYB_HEADS; i++)
        for (j = 0; j < HYB_WORLD_UNITS + 2; j++)
            if (i >= HYB_HEAD_DELTA || j == HYB_WORLD_UNITS + 1) head[i * (HYB_WORLD_UNITS + 2) + j] = 0;
}
#endif
