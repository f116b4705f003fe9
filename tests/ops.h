/* ops: one harness for every op of src/compute/ops.inc. An op is drawn at random (shapes, strides, types, what lies on
 * what, where memory begins), once for each of two sides with the same numbers, is run on both, and leaves the same on
 * both: the same bits, or as near as its drawing says.
 * The reference side is scalar C on the host, which in turn is held to a statement in double precision.
 *
 * A side is a device and its back end, made anew for every op, with room for exactly that op; so a third back end is
 * one more side. For every op of the list this file has draw_name and exact_name: one that is missing does not
 * compile. */
#ifndef OPS_H
#define OPS_H
#include "check.h"
#include <math.h>
#ifndef HYB_OPS
    #include "../src/compute/ops.inc" /* hybrid.h leaves no macro behind */
#endif
#ifndef HYB_TYPES
    #include "../src/quant/types.inc"
#endif
#define OPS_SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define OPS_LARGER(a, b)  ((a) > (b) ? (a) : (b))

/* ---- sides ------------------------------------------------------------------------------------------------------- */

/* AREA_SCRATCH: what an op leaves there means nothing */
typedef enum area_kind { AREA_FLOATS, AREA_INTS, AREA_BYTES, AREA_CACHE, AREA_DOUBLES, AREA_SCRATCH } area_kind;
typedef struct area {
    area_kind kind;
    char *memory;        /* on the device */
    size_t shift, bytes; /* what is used begins `shift` bytes into memory and ends where it ends */
    char *before;        /* what was put there */
    hybrid_type type;    /* AREA_CACHE: rows of n values of this type */
    int n;
} area;

/* What the statement in double says: a value, a number, or a value of a cache. */
typedef struct wanted {
    const void *at;
    hybrid_type type;
    int i;
    bool is_id, is_double;
    double value;
} wanted;

enum { AREAS = 32, ROWS_MAX = 700, RUNS_MAX = 5, PAGES_MAX = 14, SLOTS = 7 };
typedef struct side {
    const char *name;
    hybrid_runtime *rt;
    hyb_device *device;
    uint64_t seed; /* of what is drawn */
    area areas[AREAS];
    int n_areas;
    hyb_limits limits;
    hyb_tensor w[4];
    int n_w;
    hyb_kv_view kv;
    hyb_batch batch;
    hyb_run runs[RUNS_MAX];
    int32_t pages[RUNS_MAX][PAGES_MAX], n_pages;
    int32_t ids[ROWS_MAX], pos[ROWS_MAX], out[ROWS_MAX];
    /* how far apart the sides may be, and the reference from the statement: of 1 + the largest value of an area */
    double near, exact;
    int turn;             /* how many draws of the op there were: what must not be left to chance goes by it */
    int level;            /* what a drawing chose, for messages */
    hyb_op_displace then; /* of adamw */
    struct {
        double w[12][12], values[12];
    } factors;  /* of factors: see draw_factors */
    bool stops; /* of deflate: nothing is written */
    wanted *wants;
    size_t n_wants, room;
} side;

static uint32_t side_bits(side *s)
{
    s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->seed >> 32);
}
static int draw_int(side *s, int low, int high) { return low + (int)(side_bits(s) % (uint32_t)(high - low + 1)); }
static bool draw_chance(side *s, int percent) { return draw_int(s, 1, 100) <= percent; }
static float draw_float(side *s) { return ((float)(side_bits(s) >> 8) / 8388608.0f - 1.0f) * 2.0f; }

/* A size: small, about a multiple of what vectors and blocks of threads hold, or any. */
static int draw_size(side *s, int most)
{
    static const int steps[] = { 4, 8, 16, 32, 64, 128, 256, 1024 };
    const int step = steps[draw_int(s, 0, 7)], how = draw_int(s, 0, 9);
    int n = how < 2   ? draw_int(s, 1, 8)
            : how < 8 ? step * draw_int(s, 1, 4) + (draw_chance(s, 50) ? draw_int(s, -1, 1) : 0)
                      : draw_int(s, 1, most);
    n = n < 1 ? 1 : n;
    return n > most ? most : n;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Memory that ends where it is used to; on the host that is what AddressSanitizer sees. Takes content. */
static void *area_new(side *s, area_kind kind, void *content, size_t bytes, size_t shift)
{
    area *a = &s->areas[s->n_areas++];
    void *memory = NULL;
    hybrid_error error;
    if (s->n_areas > AREAS) {
        printf("too many areas\n");
        exit(1);
    }
    memset(a, 0, sizeof *a);
    a->kind = kind;
    a->bytes = bytes;
    a->shift = shift;
    a->before = (char *)content;
    if (s->device->ops->is_host)
        memory = malloc(bytes + shift + !(bytes + shift));
    else if (s->device->ops->alloc(s->device, bytes + shift + !(bytes + shift), &memory, &error)) {
        printf("%s\n", error.message);
        exit(1);
    }
    a->memory = (char *)memory;
    if (bytes && s->device->ops->write(s->device, a->memory + shift, content, bytes, &error)) {
        printf("%s\n", error.message);
        exit(1);
    }
    return a->memory + shift;
}
static size_t draw_begin(side *s) { return draw_chance(s, 60) ? 0 : 4 * (size_t)draw_int(s, 1, 3); }

/* n floats of about 1 times size. */
static float *draw_floats(side *s, int64_t n, float size)
{
    float *x = (float *)malloc((size_t)n * sizeof *x + 1);
    int64_t i;
    for (i = 0; i < n; i++) x[i] = draw_float(s) * size;
    return (float *)area_new(s, AREA_FLOATS, x, (size_t)n * sizeof *x, draw_begin(s));
}
/* rows of n values, stride apart, without anything behind the last one. */
static float *draw_rows(side *s, int64_t rows, int64_t n, int64_t stride)
{
    return draw_floats(s, rows ? (rows - 1) * stride + n : 0, 1);
}
static int64_t draw_stride(side *s, int64_t n) { return n + (draw_chance(s, 50) ? 0 : draw_int(s, 1, 8)); }
static int32_t *draw_ids(side *s, int64_t n)
{
    return (int32_t *)area_new(s, AREA_INTS, calloc((size_t)n + 1, 4), (size_t)n * 4, 0);
}

/* A matrix (k, out), or n_expert of them. */
static const hyb_tensor *draw_matrix(side *s, hybrid_type type, int64_t k, int64_t out, int64_t n_expert)
{
    hyb_tensor *w = &s->w[s->n_w++];
    const size_t row = hybrid_type_row_bytes(type, (size_t)k), values = (size_t)(k * out * n_expert);
    float *x = (float *)malloc(values * sizeof *x + 1);
    char *data = (char *)malloc(row * (size_t)(out * n_expert) + 1);
    size_t i;
    for (i = 0; i < values; i++) x[i] = draw_float(s) * 0.5f;
    CHECK(hybrid_quantize(type, x, data, values, NULL, NULL) == HYBRID_OK, "encode");
    free(x);
    memset(w, 0, sizeof *w);
    w->type = type;
    w->ne[0] = k;
    w->ne[1] = out;
    w->ne[2] = n_expert;
    w->ne[3] = 1;
    w->nb[0] = hybrid_type_block_size(type) == 1 ? row / (size_t)k : 0;
    w->nb[1] = row;
    w->nb[2] = row * (size_t)out;
    w->nb[3] = w->nb[2] * (size_t)n_expert;
    w->data = area_new(s, AREA_BYTES, data, row * (size_t)(out * n_expert), 0);
    return w;
}

static void side_end(side *s)
{
    int i;
    for (i = 0; i < s->n_areas; i++) {
        if (s->device->ops->is_host)
            free(s->areas[i].memory);
        else
            s->device->ops->free(s->device, s->areas[i].memory);
        free(s->areas[i].before);
    }
    free(s->wants);
    s->wants = NULL;
    s->n_areas = s->n_w = 0;
    s->n_wants = s->room = 0;
}

/* ---- batches and caches ------------------------------------------------------------------------------------------ */

/* Slots of the runs: each leaves one of its own, and goes on from it, from one that several share, or from nothing.
 * No draw but of its own. */
static void draw_slots(side *s, int first)
{
    const uint64_t seed = s->seed;
    int i;
    for (i = 0; i < s->batch.n_runs; i++) {
        const int from = draw_int(s, 0, 9);
        s->runs[i].slot_out = (first + 3 * i) % SLOTS;
        s->runs[i].slot_in = from < 3   ? -1
                             : from < 7 ? s->runs[i].slot_out
                                        : (first + 3 * draw_int(s, RUNS_MAX, SLOTS - 1)) % SLOTS;
    }
    s->seed = seed;
}

/* Up to `most` rows: single tokens and prompts of several sequences, in pages that lie anywhere. */
static void draw_batch(side *s, int most)
{
    hyb_batch *b = &s->batch;
    const int n_runs = draw_int(s, 1, RUNS_MAX), first = draw_int(s, 0, 4);
    int i, r, p;
    memset(b, 0, sizeof *b);
    b->runs = s->runs;
    b->ids = s->ids;
    b->pos = s->pos;
    b->out = s->out;
    s->n_pages = RUNS_MAX * PAGES_MAX;
    for (i = 0; i < n_runs; i++) {
        hyb_run *run = &s->runs[i];
        int rows = draw_chance(s, 60) ? 1 : draw_chance(s, 50) ? draw_int(s, 2, 9) : draw_int(s, 10, 130);
        rows = rows < most - b->n ? rows : most - b->n;
        if (rows < 1) break;
        run->first_row = b->n;
        run->n_rows = rows;
        run->pages = s->pages[i];
        run->pos = draw_chance(s, 30)   ? 0
                   : draw_chance(s, 50) ? draw_int(s, 28, 36)
                                        : draw_int(s, 1, PAGES_MAX * HYB_PAGE - rows);
        /* 3 and 70 have no common factor: all different */
        for (p = 0; p < PAGES_MAX; p++) s->pages[i][p] = (first + (p * RUNS_MAX + i) * 3) % s->n_pages;
        for (r = 0; r < rows; r++) s->pos[b->n + r] = run->pos + r;
        b->n += rows;
        b->n_runs++;
    }
    for (r = 0; r < b->n; r++) {
        s->ids[r] = draw_int(s, 0, 10);
        if (draw_chance(s, 40)) s->out[b->n_out++] = r;
    }
    if (!b->n_out) s->out[b->n_out++] = b->n - 1;
    draw_slots(s, first);
    s->limits.n_rows = b->n;
    s->limits.n_out = b->n_out;
    s->limits.n_seq = b->n_runs;
    s->limits.pages_a_seq = PAGES_MAX;
}

/* A cache, full of NaN but for the positions before those of the batch, or with them. */
static const hyb_kv_view *draw_cache(side *s, hybrid_type type, int n_head_kv, int dim_k, int dim_v, bool with_batch)
{
    hyb_kv_view *kv = &s->kv;
    float x[512];
    char *memory[2];
    size_t bytes[2];
    int i, p, h, j, which;
    memset(kv, 0, sizeof *kv);
    kv->type = type;
    kv->n_head_kv = n_head_kv;
    kv->head_dim_k = dim_k;
    kv->head_dim_v = dim_v;
    kv->row_bytes_k = hybrid_type_row_bytes(type, (size_t)dim_k);
    kv->row_bytes_v = hybrid_type_row_bytes(type, (size_t)dim_v);
    kv->page_bytes_k = kv->row_bytes_k * HYB_PAGE * (size_t)n_head_kv;
    kv->page_bytes_v = kv->row_bytes_v * HYB_PAGE * (size_t)n_head_kv;
    bytes[0] = kv->page_bytes_k * (size_t)s->n_pages;
    bytes[1] = kv->page_bytes_v * (size_t)s->n_pages;
    for (i = 0; i < 2; i++) memory[i] = (char *)memset(malloc(bytes[i]), 0xFF, bytes[i]);
    for (i = 0; i < s->batch.n_runs; i++) {
        const hyb_run *run = &s->runs[i];
        for (p = 0; p < run->pos + (with_batch ? run->n_rows : 0); p++)
            for (h = 0; h < n_head_kv; h++)
                for (which = 0; which < 2; which++) {
                    const int dim = which ? dim_v : dim_k;
                    const size_t row = which ? kv->row_bytes_v : kv->row_bytes_k,
                                 page = which ? kv->page_bytes_v : kv->page_bytes_k;
                    for (j = 0; j < dim; j++) x[j] = draw_float(s);
                    hyb_kv_row_generic(type, x,
                                       memory[which] + (size_t)run->pages[p / HYB_PAGE] * page +
                                           (size_t)(h * HYB_PAGE + p % HYB_PAGE) * row,
                                       dim);
                }
    }
    for (i = 0; i < 2; i++) {
        char *at = (char *)area_new(s, AREA_CACHE, memory[i], bytes[i], 0);
        s->areas[s->n_areas - 1].type = type;
        s->areas[s->n_areas - 1].n = i ? dim_v : dim_k;
        if (i)
            kv->v = at;
        else
            kv->k = at;
    }
    s->limits.n_head_kv = n_head_kv;
    s->limits.head_dim_k = dim_k;
    s->limits.head_dim_v = dim_v;
    return kv;
}

static const int32_t *batch_index(const side *s, hyb_index index, int *n)
{
    *n = index == HYB_INDEX_OUT ? s->batch.n_out : s->batch.n;
    return index == HYB_INDEX_ID ? s->ids : index == HYB_INDEX_POS ? s->pos : s->out;
}

/* ---- the statement in double ------------------------------------------------------------------------------------- */

static wanted *want_new(side *s, const void *at)
{
    if (s->n_wants == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->wants = (wanted *)realloc(s->wants, s->room * sizeof *s->wants);
    }
    memset(&s->wants[s->n_wants], 0, sizeof *s->wants);
    s->wants[s->n_wants].at = at;
    return &s->wants[s->n_wants++];
}
static void want(side *s, const float *at, double value)
{
    wanted *w = want_new(s, at);
    w->type = HYBRID_TYPE_F32;
    w->value = value;
}
static void want_id(side *s, const int32_t *at, int32_t id)
{
    wanted *w = want_new(s, at);
    w->is_id = true;
    w->value = id;
}
/* Value i of a row of the cache. */
static void want_kept(side *s, const hyb_kv_view *kv, const char *row, int i, double value)
{
    wanted *w = want_new(s, row);
    w->type = kv->type;
    w->i = i;
    w->value = value;
}

/* The row of a matrix or a table as doubles. */
static void decoded(const hyb_tensor *w, int64_t matrix, int64_t row, float *values)
{
    CHECK(hybrid_dequantize(w->type, (const char *)w->data + (size_t)matrix * w->nb[2] + (size_t)row * w->nb[1], values,
                            (size_t)w->ne[0], NULL) == HYBRID_OK,
          "decode");
}

/* ---- the ops: how each is drawn, and what it is ------------------------------------------------------------------ */

#define OPS_TYPE(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
static const hybrid_type op_types[] = { HYB_TYPES(OPS_TYPE) };
enum { OP_TYPES = sizeof op_types / sizeof *op_types };

/* Type `turn` of all; HYBRID_TYPE: always the one of this name. */
static hybrid_type op_type(int turn)
{
    const char *only = getenv("HYBRID_TYPE");
    int i;
    for (i = 0; only && i < OP_TYPES; i++)
        if (!strcmp(hybrid_type_name(op_types[i]), only)) return op_types[i];
    return op_types[turn % OP_TYPES];
}
static hybrid_type draw_type(side *s) { return op_type(draw_int(s, 0, OP_TYPES - 1)); }

static void draw_embed(side *s, hyb_op_embed *op)
{
    const hybrid_type type = op_type(s->turn);
    const int block = (int)hybrid_type_block_size(type),
              n_embd = block == 1 ? draw_size(s, 900) : block * draw_int(s, 1, block == 32 ? 70 : 5);
    int n, i, vocab = 1;
    draw_batch(s, 200);
    op->index = (hyb_index)draw_int(s, 0, 2);
    batch_index(s, op->index, &n);
    for (i = 0; i < n; i++) vocab = OPS_LARGER(vocab, batch_index(s, op->index, &n)[i] + 1);
    op->table = draw_matrix(s, type, n_embd, vocab, 1);
    op->scale = draw_chance(s, 50) ? 1.0f : draw_float(s) * 3;
    op->out = draw_rows(s, n, n_embd, n_embd);
    op->add = draw_chance(s, 50) ? NULL : draw_chance(s, 50) ? op->out : draw_rows(s, n, n_embd, n_embd);
    s->near = 1e-6;
    s->exact = 3e-7;
}
static void exact_embed(side *s, const hyb_op_embed *op)
{
    const int64_t width = op->table->ne[0];
    float *row = (float *)malloc((size_t)width * sizeof *row);
    int n, r, i;
    const int32_t *index = batch_index(s, op->index, &n);
    for (r = 0; r < n; r++) {
        decoded(op->table, 0, index[r], row);
        for (i = 0; i < width; i++)
            want(s, op->out + r * width + i, (double)row[i] * op->scale + (op->add ? op->add[r * width + i] : 0));
    }
    free(row);
}

static void draw_norm(side *s, hyb_op_norm *op)
{
    op->kind = (hyb_norm_kind)draw_int(s, 0, 1);
    op->n = draw_chance(s, 10) ? draw_int(s, 4000, 21000) : draw_size(s, 3000);
    op->n_group = op->n > 600 || draw_chance(s, 50) ? 1 : draw_int(s, 2, 9);
    op->n_rows = op->n > 3000 ? 1 : draw_int(s, 1, 9);
    op->eps = draw_chance(s, 50) ? 1e-5f : 0.3f;
    op->x_stride = draw_stride(s, op->n * op->n_group);
    op->out_stride = draw_chance(s, 50) ? op->x_stride : draw_stride(s, op->n * op->n_group);
    op->out = draw_rows(s, op->n_rows, op->n * op->n_group, op->out_stride);
    op->x = op->x_stride == op->out_stride && draw_chance(s, 50)
                ? op->out
                : draw_rows(s, op->n_rows, op->n * op->n_group, op->x_stride);
    op->w = draw_chance(s, 70) ? draw_floats(s, op->n, 1) : NULL;
    op->b = draw_chance(s, 40) ? draw_floats(s, op->n, 1) : NULL;
    s->near = 2e-6;
    s->exact = 2e-6;
}
static void exact_norm(side *s, const hyb_op_norm *op)
{
    int64_t r, g, i;
    for (r = 0; r < op->n_rows; r++)
        for (g = 0; g < op->n_group; g++) {
            const float *x = op->x + r * op->x_stride + g * op->n;
            double mean = 0, var = 0;
            for (i = 0; i < op->n; i++) mean += x[i];
            mean = op->kind == HYB_NORM_LAYER ? mean / (double)op->n : 0;
            for (i = 0; i < op->n; i++) var += (x[i] - mean) * (x[i] - mean);
            for (i = 0; i < op->n; i++)
                want(s, op->out + r * op->out_stride + g * op->n + i,
                     (x[i] - mean) / sqrt(var / (double)op->n + op->eps) * (op->w ? op->w[i] : 1) +
                         (op->b ? op->b[i] : 0));
        }
}

/* A size of k that a type can have. */
static int draw_k(side *s, hybrid_type type, int most)
{
    const int block = (int)hybrid_type_block_size(type);
    return block == 1 ? draw_size(s, most) : block * draw_int(s, 1, most / block > 0 ? most / block : 1);
}
/* How far a GPU's products may be from the reference: they round x to 16 bits where the weights have 16, to 11 bits of
 * F16 or 8 of BF16, which alone puts sums of 256 products 0.04 apart. */
static double near_of_products(hybrid_type type)
{
    if (hybrid_type_block_size(type) > 1) return 5e-2;
    return type == HYBRID_TYPE_F32 ? 1e-5 : type == HYBRID_TYPE_BF16 ? 2e-2 : 4e-3;
}
/* The format of a product. */
static hybrid_type draw_rounding(side *s)
{
    return s->turn % 4 == 1 ? HYBRID_TYPE_BF16 : s->turn % 4 == 3 ? HYBRID_TYPE_F16 : HYBRID_TYPE_F32;
}
/* w: all that the op has, or it is not there in that format. */
static void draw_rounded(side *s, hyb_rounding *rounding, hybrid_type type, const hyb_tensor *w, int n_out)
{
    const size_t n = (size_t)(w->ne[0] * w->ne[1]);
    const float *x;
    uint16_t *to;
    size_t i;
    int a;
    rounding->type = s->limits.operands = type;
    if (!type || n_out > 1 || draw_chance(s, 50)) return;
    for (a = 0; a < s->n_areas; a++)
        if (s->areas[a].memory + s->areas[a].shift == (const char *)w->data) break;
    x = (const float *)(const void *)s->areas[a].before;
    to = (uint16_t *)malloc(n * sizeof *to + 1);
    for (i = 0; i < n; i++) to[i] = type == HYBRID_TYPE_BF16 ? hyb_f32_to_bf16(x[i]) : hyb_f32_to_f16(x[i]);
    rounding->of = (const float *)w->data;
    rounding->to = (const uint16_t *)area_new(s, AREA_BYTES, to, n * sizeof *to, 0);
}

static void draw_matmul(side *s, hyb_op_matmul *op)
{
    const bool in_chunks = s->turn % 4 == 3;
    const hybrid_type rounding = !in_chunks           ? HYBRID_TYPE_F32
                                 : s->turn % 12 == 7  ? HYBRID_TYPE_BF16
                                 : s->turn % 12 == 11 ? HYBRID_TYPE_F16
                                                      : HYBRID_TYPE_F32;
    hybrid_type type = rounding ? HYBRID_TYPE_F32 : draw_type(s);
    const int n_out = draw_chance(s, 50) ? 1 : draw_int(s, 2, 4), k = draw_k(s, type, 1100);
    int i;
    draw_batch(s, draw_chance(s, 60) ? 9 : 100);
    op->rows = (hyb_rows)draw_int(s, 0, 1);
    op->n = op->rows == HYB_ROWS_OUT ? s->batch.n_out : s->batch.n;
    op->x_stride = k + 4 * draw_int(s, 0, 2);
    op->x = draw_rows(s, op->n, k, op->x_stride);
    op->n_out = n_out;
    op->in_chunks = in_chunks;
    s->limits.n_train = op->in_chunks;
    for (i = 0; i < n_out; i++) {
        hyb_matmul_out *o = &op->out[i];
        const int out = draw_size(s, 150);
        if (i && !rounding && draw_chance(s, 30) && k % 256 == 0) type = draw_type(s);
        o->w = draw_matrix(s, type, k, out, 1);
        o->bias = draw_chance(s, 40) ? draw_floats(s, out, 1) : NULL;
        o->y_stride = draw_stride(s, out);
        o->y = draw_rows(s, op->n, out, o->y_stride);
        o->add = draw_chance(s, 50) ? NULL : o->y;
        o->add_stride = o->y_stride;
        if (!o->add || draw_chance(s, 50)) continue;
        o->add_stride = draw_stride(s, out);
        o->add = draw_rows(s, op->n, out, o->add_stride);
    }
    draw_rounded(s, &op->rounding, rounding, op->out[0].w, n_out);
    s->level = k;
    /* both sides round x, in ways of their own */
    s->near = rounding ? 3e-5 : n_out > 1 ? 5e-2 : near_of_products(type);
    s->exact = !rounding && (hybrid_type_block_size(type) > 1 || n_out > 1) ? 1.5e-2 : 2e-6;
}
static void exact_product(side *s, hybrid_type rounding, const hyb_tensor *w, int64_t matrix, const float *x,
                          const float *bias, const float *add, const float *y)
{
    float *row = (float *)malloc((size_t)w->ne[0] * sizeof *row);
    int64_t r, i;
    for (r = 0; r < w->ne[1]; r++) {
        double sum = 0;
        decoded(w, matrix, r, row);
        for (i = 0; i < w->ne[0]; i++)
            sum += (double)hyb_rounded(rounding, row[i]) * (double)hyb_rounded(rounding, x[i]);
        want(s, y + r, sum + (bias ? bias[r] : 0) + (add ? add[r] : 0));
    }
    free(row);
}
static void exact_matmul(side *s, const hyb_op_matmul *op)
{
    int i, r;
    for (i = 0; i < op->n_out; i++)
        for (r = 0; r < op->n; r++)
            exact_product(s, op->rounding.type, op->out[i].w, 0, op->x + r * op->x_stride, op->out[i].bias,
                          op->out[i].add ? op->out[i].add + r * op->out[i].add_stride : NULL,
                          op->out[i].y + r * op->out[i].y_stride);
}

static void draw_rope_table(side *s, hyb_op_rope_table *op)
{
    const int half = draw_size(s, 130);
    double *freq = (double *)malloc((size_t)half * sizeof *freq);
    int i;
    draw_batch(s, 100);
    /* far positions: the angles need a double */
    for (i = 0; i < s->batch.n; i++) s->pos[i] *= draw_chance(s, 50) ? 1 : 1000;
    for (i = 0; i < half; i++) freq[i] = pow(10000, -1.0 * i / half);
    op->inv_freq = (const double *)area_new(s, AREA_BYTES, freq, (size_t)half * sizeof *freq, 0);
    op->n_rot = 2 * half;
    op->scale = draw_chance(s, 50) ? 1 : 1.19f;
    op->table = (float *)area_new(s, AREA_FLOATS, calloc((size_t)(s->batch.n * 2 * half), 4),
                                  (size_t)(s->batch.n * 2 * half) * 4, 0);
    s->near = s->exact = 3e-7;
}
static void exact_rope_table(side *s, const hyb_op_rope_table *op)
{
    int r, i;
    for (r = 0; r < s->batch.n; r++)
        for (i = 0; i < op->n_rot / 2; i++) {
            want(s, op->table + r * op->n_rot + 2 * i, op->scale * cos(s->pos[r] * op->inv_freq[i]));
            want(s, op->table + r * op->n_rot + 2 * i + 1, op->scale * sin(s->pos[r] * op->inv_freq[i]));
        }
}

/* cosines and sines for n rows, as rope_table makes them */
static const float *draw_angles(side *s, int n, int n_rot)
{
    float *cs = (float *)malloc((size_t)(n * n_rot) * sizeof *cs + 1);
    int i;
    for (i = 0; i < n * n_rot / 2; i++) {
        const double angle = 1000 * (double)draw_float(s);
        cs[2 * i] = (float)cos(angle);
        cs[2 * i + 1] = (float)sin(angle);
    }
    return (const float *)area_new(s, AREA_FLOATS, cs, (size_t)(n * n_rot) * sizeof *cs, 0);
}
static void draw_rope(side *s, hyb_op_rope *op)
{
    op->kind = (hyb_rope_kind)draw_int(s, 0, 1);
    op->head_dim = draw_chance(s, 60) ? 16 * draw_int(s, 1, 16) : draw_int(s, 2, 300);
    op->n_rot = draw_chance(s, 50) ? op->head_dim / 2 * 2 : 2 * draw_int(s, 0, op->head_dim / 2);
    op->n_head = draw_int(s, 1, 6);
    op->n = draw_int(s, 1, 9);
    op->x_stride = draw_stride(s, op->n_head * op->head_dim);
    op->out_stride = draw_chance(s, 50) ? op->x_stride : draw_stride(s, op->n_head * op->head_dim);
    op->out = draw_rows(s, op->n, op->n_head * op->head_dim, op->out_stride);
    op->x = op->x_stride == op->out_stride && draw_chance(s, 60)
                ? op->out
                : draw_rows(s, op->n, op->n_head * op->head_dim, op->x_stride);
    op->table = draw_angles(s, op->n, op->n_rot);
    s->near = 1e-6;
    s->exact = 3e-7;
}
/* x (dim) rotated: pairs as complex numbers, times e^(i angle). */
static void rotated(hyb_rope_kind kind, const double *x, int dim, int n_rot, const float *table, double *y)
{
    int i;
    for (i = 0; i < dim; i++) y[i] = x[i];
    for (i = 0; i < n_rot / 2; i++) {
        const int a = kind == HYB_ROPE_NORM ? 2 * i : i, b = kind == HYB_ROPE_NORM ? a + 1 : a + n_rot / 2;
        const double length = hypot(x[a], x[b]),
                     turn = atan2(x[b], x[a]) + atan2((double)table[2 * i + 1], (double)table[2 * i]);
        y[a] = length * cos(turn);
        y[b] = length * sin(turn);
    }
}
static void exact_rope(side *s, const hyb_op_rope *op)
{
    double x[512], y[512];
    int r, h, i;
    for (r = 0; r < op->n; r++)
        for (h = 0; h < op->n_head; h++) {
            for (i = 0; i < op->head_dim; i++) x[i] = op->x[r * op->x_stride + h * op->head_dim + i];
            rotated(op->kind, x, op->head_dim, op->n_rot, op->table + r * op->n_rot, y);
            for (i = 0; i < op->head_dim; i++) want(s, op->out + r * op->out_stride + h * op->head_dim + i, y[i]);
        }
}

static hybrid_type draw_kv_type(side *s, int *dim_k, int *dim_v)
{
    static const hybrid_type types[] = { HYBRID_TYPE_F16, HYBRID_TYPE_F32, HYBRID_TYPE_Q8_0 };
    static const int dims[] = { 8, 16, 32, 40, 64, 64, 80, 96, 128, 256 };
    const hybrid_type type = types[draw_int(s, 0, 2)];
    *dim_k = type == HYBRID_TYPE_Q8_0 ? 32 * draw_int(s, 1, 4) : dims[draw_int(s, 0, 9)];
    *dim_v = draw_chance(s, 70) ? *dim_k : type == HYBRID_TYPE_Q8_0 ? 32 * draw_int(s, 1, 4) : dims[draw_int(s, 0, 8)];
    return type;
}
/* By how much a value of size 2 may be off in a cache. */
static double kept_step(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 ? 1e-9 : type == HYBRID_TYPE_F16 ? 1.0 / 1024 : 2.0 / 254 + 2.0 / 2048;
}

/* Where a row of the batch lies in the cache, for kv head h. */
static void exact_kept(side *s, const hyb_kv_view *kv, int row, int h, bool is_v, const double *x)
{
    const int run = hyb_run_of_row(&s->batch, HYB_ROWS_BATCH, row), p = s->pos[row],
              dim = is_v ? kv->head_dim_v : kv->head_dim_k;
    const char *at = is_v ? hyb_v_row(kv, s->pages[run][p / HYB_PAGE], h, p % HYB_PAGE)
                          : hyb_k_row(kv, s->pages[run][p / HYB_PAGE], h, p % HYB_PAGE);
    int i;
    for (i = 0; i < dim; i++) want_kept(s, kv, at, i, x[i]);
}

static void draw_kv_store(side *s, hyb_op_kv_store *op)
{
    int dim_k, dim_v, n_head_kv = draw_int(s, 1, 5);
    const hybrid_type type = draw_kv_type(s, &dim_k, &dim_v);
    draw_batch(s, 100);
    op->kv = draw_cache(s, type, n_head_kv, dim_k, dim_v, false);
    op->k_stride = draw_stride(s, n_head_kv * dim_k);
    op->v_stride = draw_stride(s, n_head_kv * dim_v);
    op->k = draw_rows(s, s->batch.n, n_head_kv * dim_k, op->k_stride);
    op->v = draw_rows(s, s->batch.n, n_head_kv * dim_v, op->v_stride);
    s->near = 0;
    s->exact = kept_step(type);
}
static void exact_kv_store(side *s, const hyb_op_kv_store *op)
{
    double x[512];
    int r, h, i, which;
    for (r = 0; r < s->batch.n; r++)
        for (h = 0; h < op->kv->n_head_kv; h++)
            for (which = 0; which < 2; which++) {
                const int dim = which ? op->kv->head_dim_v : op->kv->head_dim_k;
                const float *row = which ? op->v + r * op->v_stride + h * dim : op->k + r * op->k_stride + h * dim;
                for (i = 0; i < dim; i++) x[i] = row[i];
                exact_kept(s, op->kv, r, h, which == 1, x);
            }
}

static void draw_heads(side *s, hyb_op_heads *op)
{
    int dim_k, dim_v, n_head_kv = draw_int(s, 1, 3), width;
    hybrid_type type = draw_kv_type(s, &dim_k, &dim_v);
    /* larger than a GPU does in one go */
    if (draw_chance(s, 15)) {
        type = HYBRID_TYPE_F32;
        dim_k = 300;
    }
    draw_batch(s, 100);
    op->kv = draw_cache(s, type, n_head_kv, dim_k, dim_v, false);
    op->n = s->batch.n;
    op->n_head = n_head_kv * draw_int(s, 1, 4);
    width = op->n_head * dim_k + n_head_kv * (dim_k + dim_v);
    op->stride = draw_stride(s, width);
    op->q_out = draw_rows(s, op->n, width, op->stride);
    op->k_out = op->q_out + op->n_head * dim_k;
    op->q = op->q_out;
    op->k = op->k_out;
    op->out_stride = op->stride;
    op->v = op->k + n_head_kv * dim_k;
    if (draw_chance(s, 50)) { /* q and k to another place */
        float *rows;
        op->out_stride = draw_stride(s, width - n_head_kv * dim_v);
        rows = draw_rows(s, op->n, width - n_head_kv * dim_v, op->out_stride);
        op->q_out = rows;
        op->k_out = rows + op->n_head * dim_k;
    }
    op->q_norm = draw_chance(s, 50) ? draw_floats(s, dim_k, 1) : NULL;
    op->k_norm = op->q_norm ? draw_floats(s, dim_k, 1) : NULL;
    op->norm = (hyb_norm_kind)draw_int(s, 0, 1);
    op->eps = 1e-6f;
    op->rope = (hyb_rope_kind)draw_int(s, 0, 1);
    op->n_rot = draw_chance(s, 30) ? 0 : draw_chance(s, 50) ? dim_k : 2 * draw_int(s, 1, dim_k / 2);
    op->table = draw_angles(s, op->n, op->n_rot);
    s->limits.n_head = op->n_head;
    s->near = 4e-6;
    s->exact = OPS_LARGER(kept_step(type) * 4, 3e-6);
}
static void exact_heads(side *s, const hyb_op_heads *op)
{
    const int dim = op->kv->head_dim_k, dim_v = op->kv->head_dim_v;
    double x[512], y[512];
    int r, h, i;
    for (r = 0; r < op->n; r++)
        for (h = 0; h < op->n_head + op->kv->n_head_kv; h++) {
            const bool is_k = h >= op->n_head;
            const int head = is_k ? h - op->n_head : h;
            const float *from = (is_k ? op->k : op->q) + r * op->stride + head * dim,
                        *w = is_k ? op->k_norm : op->q_norm;
            float *to = (is_k ? op->k_out : op->q_out) + r * op->out_stride + head * dim;
            double mean = 0, var = 0;
            for (i = 0; i < dim; i++) mean += from[i];
            mean = op->norm == HYB_NORM_LAYER && w ? mean / dim : 0;
            for (i = 0; i < dim; i++) var += (from[i] - mean) * (from[i] - mean);
            for (i = 0; i < dim; i++) x[i] = w ? (from[i] - mean) / sqrt(var / dim + op->eps) * w[i] : from[i];
            rotated(op->rope, x, dim, op->n_rot, op->table + r * op->n_rot, y);
            for (i = 0; i < dim; i++) want(s, to + i, y[i]);
            if (is_k) exact_kept(s, op->kv, r, head, false, y);
        }
    for (r = 0; r < op->n; r++)
        for (h = 0; h < op->kv->n_head_kv; h++) {
            for (i = 0; i < dim_v; i++) x[i] = op->v[r * op->stride + h * dim_v + i];
            exact_kept(s, op->kv, r, h, true, x);
        }
}

static void draw_attention(side *s, hyb_op_attention *op)
{
    int dim_k, dim_v, n_head_kv = draw_int(s, 1, 3);
    const hybrid_type type = draw_kv_type(s, &dim_k, &dim_v);
    draw_batch(s, draw_chance(s, 70) ? 20 : 100);
    op->kv = draw_cache(s, type, n_head_kv, dim_k, dim_v, true);
    op->n_head = n_head_kv * (draw_chance(s, 80) ? draw_int(s, 1, 5) : draw_int(s, 6, 20));
    op->q_stride = draw_stride(s, op->n_head * dim_k);
    op->q = draw_rows(s, s->batch.n, op->n_head * dim_k, op->q_stride);
    op->out_stride = draw_stride(s, op->n_head * dim_v);
    op->out = draw_rows(s, s->batch.n, op->n_head * dim_v, op->out_stride);
    op->scale = 1.0f / sqrtf((float)dim_k);
    op->softcap = draw_chance(s, 70) ? 0 : 20.0f;
    op->window = draw_chance(s, 60) ? 0 : draw_int(s, 1, 100);
    op->sinks = draw_chance(s, 70) ? NULL : draw_floats(s, op->n_head, 1);
    s->limits.n_head = op->n_head;
    s->near = type == HYBRID_TYPE_F32 ? 1e-5 : 4e-3; /* tensor cores: q and the weights in 16 bits */
    s->exact = 3e-6;
}
static void exact_attention(side *s, const hyb_op_attention *op)
{
    const hyb_kv_view *kv = op->kv;
    int r, h, i, p;
    for (r = 0; r < s->batch.n; r++)
        for (h = 0; h < op->n_head; h++) {
            const int run = hyb_run_of_row(&s->batch, HYB_ROWS_BATCH, r), head_kv = h / (op->n_head / kv->n_head_kv),
                      pos = s->pos[r];
            const float *q = op->q + r * op->q_stride + h * kv->head_dim_k;
            double out[512] = { 0 }, sum = op->sinks ? exp((double)op->sinks[h]) : 0, score;
            for (p = op->window > 0 ? OPS_LARGER(pos - op->window + 1, 0) : 0; p <= pos; p++) {
                const char *k = hyb_k_row(kv, s->pages[run][p / HYB_PAGE], head_kv, p % HYB_PAGE);
                const char *v = hyb_v_row(kv, s->pages[run][p / HYB_PAGE], head_kv, p % HYB_PAGE);
                for (score = 0, i = 0; i < kv->head_dim_k; i++)
                    score += (double)hyb_kv_value_generic(kv->type, k, i) * q[i];
                score *= op->scale;
                score = exp(op->softcap > 0 ? op->softcap * tanh(score / op->softcap) : score);
                sum += score;
                for (i = 0; i < kv->head_dim_v; i++) out[i] += score * hyb_kv_value_generic(kv->type, v, i);
            }
            for (i = 0; i < kv->head_dim_v; i++)
                want(s, op->out + r * op->out_stride + h * kv->head_dim_v + i, out[i] / sum);
        }
}

/* ---- recurrence -------------------------------------------------------------------------------------------------- */

/* Slots of n values, with gaps. */
static hyb_slots draw_kept(side *s, int64_t n)
{
    hyb_slots slots;
    slots.stride = draw_stride(s, n);
    slots.data = draw_rows(s, SLOTS, n, slots.stride);
    return slots;
}
/* Value i of what a run goes on from. */
static double kept_value(const hyb_slots *slots, const hyb_run *run, int64_t i)
{
    return run->slot_in < 0 ? 0 : slots->data[run->slot_in * slots->stride + i];
}

/* A batch of a model that may have no attention, and so no pages. */
static void draw_batch_kept(side *s, int most)
{
    int i;
    draw_batch(s, most);
    if (draw_chance(s, 50)) return;
    s->limits.pages_a_seq = 0;
    for (i = 0; i < s->batch.n_runs; i++) s->runs[i].pages = NULL;
}

static void draw_shift(side *s, hyb_op_shift *op)
{
    draw_batch_kept(s, draw_chance(s, 70) ? 20 : 150);
    op->n_embd = draw_size(s, 900);
    op->n_mix = draw_chance(s, 40) ? 1 : draw_int(s, 1, 6);
    op->x = draw_rows(s, s->batch.n, op->n_embd, op->n_embd);
    op->mix = draw_rows(s, op->n_mix, op->n_embd, op->n_embd);
    op->slots = draw_kept(s, op->n_embd);
    op->plane = draw_stride(s, s->batch.n * op->n_embd);
    op->out = draw_rows(s, op->n_mix, s->batch.n * op->n_embd, op->plane);
    s->near = 1e-6;
    s->exact = 3e-7;
}
static void exact_shift(side *s, const hyb_op_shift *op)
{
    int b, r, i;
    int64_t c;
    for (b = 0; b < s->batch.n_runs; b++)
        for (c = 0; c < op->n_embd; c++) {
            const hyb_run *run = &s->runs[b];
            double before = kept_value(&op->slots, run, c);
            for (r = run->first_row; r < run->first_row + run->n_rows; r++) {
                const double x = op->x[r * op->n_embd + c];
                for (i = 0; i < op->n_mix; i++)
                    want(s, op->out + i * op->plane + r * op->n_embd + c,
                         x + (before - x) * op->mix[i * op->n_embd + c]);
                before = x;
            }
            want(s, op->slots.data + run->slot_out * op->slots.stride + c, before);
        }
}

static void draw_wkv7(side *s, hyb_op_wkv7 *op)
{
    static const int sizes[] = { 64, 64, 64, 128, 32, 16, 8, 40, 5, 100 };
    int64_t width;
    float *rows;
    draw_batch_kept(s, draw_chance(s, 80) ? 20 : 100);
    op->size = sizes[draw_int(s, 0, 9)];
    op->n_head = op->size > 64 ? 1 : draw_int(s, 1, 3);
    width = (int64_t)op->n_head * op->size;
    op->stride = draw_chance(s, 50) ? 7 * width : draw_stride(s, width);
    if (op->stride >= 7 * width) { /* side by side */
        rows = draw_rows(s, s->batch.n, 7 * width, op->stride);
        op->r = rows;
        op->k = rows + width;
        op->v = rows + 2 * width;
        op->decay = rows + 3 * width;
        op->rate = rows + 4 * width;
        op->value_gate = rows + 5 * width;
        op->gate = rows + 6 * width;
    } else {
        rows = draw_rows(s, s->batch.n, width, op->stride);
        op->r = rows;
        op->k = draw_rows(s, s->batch.n, width, op->stride);
        op->v = draw_rows(s, s->batch.n, width, op->stride);
        op->decay = draw_rows(s, s->batch.n, width, op->stride);
        op->rate = draw_rows(s, s->batch.n, width, op->stride);
        op->value_gate = draw_rows(s, s->batch.n, width, op->stride);
        op->gate = draw_rows(s, s->batch.n, width, op->stride);
    }
    if (draw_chance(s, 30)) op->gate = NULL;
    op->v_first_stride = draw_stride(s, width);
    op->v_first = draw_rows(s, s->batch.n, width, op->v_first_stride);
    if (draw_chance(s, 30)) op->v_first = op->value_gate = NULL;
    op->k_k = draw_floats(s, width, draw_chance(s, 15) ? 0.0f : 1.0f); /* a direction of no length */
    op->k_a = draw_floats(s, width, 1);
    op->r_k = draw_floats(s, width, 0.1f);
    op->ln_w = draw_chance(s, 70) ? draw_floats(s, width, 1) : NULL;
    op->ln_b = op->ln_w ? draw_floats(s, width, 1) : NULL;
    op->eps = 64e-5f;
    op->slots = draw_kept(s, width * op->size);
    op->out_stride = op->stride;
    op->out = draw_chance(s, 30) ? rows : draw_rows(s, s->batch.n, width, op->out_stride = draw_stride(s, width));
    s->near = 3e-5;
    s->exact = 3e-5;
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
/* One row of a head. M (size, size): row i is of value i, column j of key j. */
static void exact_wkv7_row(side *s, const hyb_op_wkv7 *op, int row, int64_t at, double *m)
{
    enum { MAX = HYB_WKV_SIZE_MAX };
    const int n = op->size;
    const int64_t from = row * op->stride + at;
    double v[MAX], k[MAX], w[MAX], a[MAX], kk[MAX], y[MAX], norm = 0, bonus = 0, mean = 0, var = 0;
    int i, j;
    for (j = 0; j < n; j++) {
        v[j] = op->v[from + j];
        if (op->v_first)
            v[j] += (op->v_first[row * op->v_first_stride + at + j] - v[j]) * sigmoid(op->value_gate[from + j]);
        w[j] = exp(-0.606531 * sigmoid(op->decay[from + j]));
        a[j] = sigmoid(op->rate[from + j]);
        kk[j] = op->k[from + j] * op->k_k[at + j];
        norm += kk[j] * kk[j];
        k[j] = op->k[from + j] * (1 + (a[j] - 1) * op->k_a[at + j]);
        bonus += op->r[from + j] * k[j] * op->r_k[at + j];
    }
    for (j = 0; j < n; j++) kk[j] /= OPS_LARGER(sqrt(norm), 1e-12);
    for (i = 0; i < n; i++) {
        double sa = 0;
        for (j = 0; j < n; j++) sa -= m[i * n + j] * kk[j];
        y[i] = 0;
        for (j = 0; j < n; j++) {
            m[i * n + j] = m[i * n + j] * w[j] + sa * kk[j] * a[j] + v[i] * k[j];
            y[i] += m[i * n + j] * op->r[from + j];
        }
        mean += y[i] / n;
    }
    for (i = 0; i < n; i++) var += (y[i] - mean) * (y[i] - mean) / n;
    for (i = 0; i < n; i++) {
        double out = op->ln_w ? (y[i] - mean) / sqrt(var + op->eps) * op->ln_w[at + i] + op->ln_b[at + i] : y[i];
        out += bonus * v[i];
        want(s, op->out + row * op->out_stride + at + i, op->gate ? out * op->gate[from + i] : out);
    }
}
static void exact_wkv7(side *s, const hyb_op_wkv7 *op)
{
    const int n = op->size;
    double *m = (double *)malloc((size_t)(n * n) * sizeof *m);
    int b, h, r, i, j;
    for (b = 0; b < s->batch.n_runs; b++)
        for (h = 0; h < op->n_head; h++) {
            const hyb_run *run = &s->runs[b];
            const int64_t first = (int64_t)h * n * n;
            for (i = 0; i < n; i++)
                for (j = 0; j < n; j++) m[i * n + j] = kept_value(&op->slots, run, first + j * n + i);
            for (r = 0; r < run->n_rows; r++) exact_wkv7_row(s, op, run->first_row + r, (int64_t)h * n, m);
            for (i = 0; i < n; i++)
                for (j = 0; j < n; j++)
                    want(s, op->slots.data + run->slot_out * op->slots.stride + first + j * n + i, m[i * n + j]);
        }
    free(m);
}

static void draw_shortconv(side *s, hyb_op_shortconv *op)
{
    draw_batch_kept(s, draw_chance(s, 70) ? 20 : 150);
    op->n_embd = draw_size(s, 900);
    op->n_taps = draw_chance(s, 60) ? 3 : draw_int(s, 1, HYB_TAPS_MAX);
    op->bcx_stride = draw_stride(s, 3 * op->n_embd);
    op->bcx = draw_rows(s, s->batch.n, 3 * op->n_embd, op->bcx_stride);
    op->w = draw_floats(s, op->n_embd * op->n_taps, 1);
    op->slots = draw_kept(s, op->n_embd * (op->n_taps - 1));
    op->out_stride = draw_stride(s, op->n_embd);
    op->out = draw_rows(s, s->batch.n, op->n_embd, op->out_stride);
    s->near = 2e-6;
    s->exact = 1e-6;
}
static void exact_shortconv(side *s, const hyb_op_shortconv *op)
{
    const int back = op->n_taps - 1;
    double u[ROWS_MAX + HYB_TAPS_MAX]; /* with what came before the run */
    int64_t c;
    int b, r, j;
    for (b = 0; b < s->batch.n_runs; b++)
        for (c = 0; c < op->n_embd; c++) {
            const hyb_run *run = &s->runs[b];
            for (j = 0; j < back; j++) u[j] = kept_value(&op->slots, run, j * op->n_embd + c);
            for (r = 0; r < run->n_rows; r++) {
                const float *row = op->bcx + (run->first_row + r) * op->bcx_stride + c;
                double sum = 0;
                u[back + r] = (double)row[0] * row[2 * op->n_embd];
                for (j = 0; j < op->n_taps; j++) sum += u[r + j] * op->w[c * op->n_taps + j];
                want(s, op->out + (run->first_row + r) * op->out_stride + c, row[op->n_embd] * sum);
            }
            for (j = 0; j < back; j++)
                want(s, op->slots.data + run->slot_out * op->slots.stride + j * op->n_embd + c, u[run->n_rows + j]);
        }
}

static void draw_glu(side *s, hyb_op_glu *op)
{
    op->act = (hyb_act_kind)draw_int(s, 0, HYB_ACT_KINDS - 1);
    op->n = draw_chance(s, 10) ? draw_int(s, 4000, 9000) : draw_size(s, 1500);
    op->n_rows = draw_int(s, 1, 7);
    op->gate_stride = draw_chance(s, 50) ? 2 * op->n : draw_stride(s, op->n);
    op->up_stride = draw_stride(s, op->n);
    op->out_stride = draw_chance(s, 60) ? op->gate_stride : draw_stride(s, op->n);
    op->out = draw_floats(s, op->n_rows * op->out_stride, 5);
    op->gate = op->out_stride == op->gate_stride && draw_chance(s, 60)
                   ? op->out
                   : draw_floats(s, op->n_rows * op->gate_stride, draw_chance(s, 80) ? 5.0f : 60.0f);
    op->up = NULL;
    if (draw_chance(s, 70))
        op->up = op->out_stride == op->up_stride && op->gate != op->out
                     ? op->out
                     : draw_rows(s, op->n_rows, op->n, op->up_stride);
    s->near = 2e-6;
    s->exact = 5e-7;
}
static double activated(hyb_act_kind act, double x)
{
    switch (act) {
    case HYB_ACT_SILU: return x / (1 + exp(-x));
    case HYB_ACT_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case HYB_ACT_GELU_TANH: return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case HYB_ACT_TANH: return tanh(x);
    case HYB_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case HYB_ACT_RELU2: return x > 0 ? x * x : 0;
    default: return HUGE_VAL;
    }
}
static void exact_glu(side *s, const hyb_op_glu *op)
{
    int64_t r, i;
    for (r = 0; r < op->n_rows; r++)
        for (i = 0; i < op->n; i++) {
            const double y = activated(op->act, op->gate[r * op->gate_stride + i]);
            want(s, op->out + r * op->out_stride + i, y * (op->up ? op->up[r * op->up_stride + i] : 1));
        }
}

/* Logits: some equal, zeros of both signs, some -inf, some NaN; the first of a row is finite. */
static float *draw_logits(side *s, int64_t rows, int64_t n, int64_t stride, bool nan)
{
    const bool equal = draw_chance(s, 40);
    const int64_t all = (rows - 1) * stride + n;
    float *x = (float *)malloc((size_t)all * sizeof *x);
    int64_t i;
    for (i = 0; i < all; i++) {
        x[i] = equal ? floorf(3 * draw_float(s)) : draw_float(s) * 4;
        if (x[i] == 0 && draw_chance(s, 50)) x[i] = -0.0f;
        if (i % stride && draw_chance(s, 8)) x[i] = nan && draw_chance(s, 50) ? hyb_bits_f32(0x7FC00000u) : -INFINITY;
    }
    return (float *)area_new(s, AREA_FLOATS, x, (size_t)all * sizeof *x, 0);
}
/* The place of logit i among the n, the largest first; NaN as the smallest, and of equal ones the lower id first. */
static int placed(const float *x, int n, int i)
{
    int j, before = 0;
    for (j = 0; j < n; j++) {
        const double a = x[j] == x[j] ? x[j] : -HUGE_VAL, b = x[i] == x[i] ? x[i] : -HUGE_VAL;
        before += a > b || (a == b && j < i);
    }
    return before;
}

static void draw_route(side *s, hyb_op_route *op)
{
    int most;
    op->kind = (hyb_route_kind)draw_int(s, 0, 1);
    op->n = draw_int(s, 1, 9);
    op->n_expert = draw_chance(s, 10)   ? 1
                   : draw_chance(s, 80) ? draw_int(s, 2, 140)
                                        : draw_int(s, 141, HYB_EXPERTS_MAX);
    most = draw_chance(s, 80) ? 9 : (int)HYB_EXPERTS_USED_MAX;
    op->n_used = draw_int(s, 1, OPS_SMALLER(op->n_expert, most));
    op->norm = draw_chance(s, 50);
    op->scale = draw_chance(s, 50) ? 1 : 2.5f;
    op->logits = draw_logits(s, op->n, op->n_expert, op->n_expert, true);
    op->ids = draw_ids(s, (int64_t)op->n * op->n_used);
    op->weights = draw_floats(s, (int64_t)op->n * op->n_used, 1);
    s->near = s->exact = 2e-6;
}
static void exact_route(side *s, const hyb_op_route *op)
{
    int r, i;
    for (r = 0; r < op->n; r++) {
        const float *x = op->logits + r * op->n_expert;
        double most = -HUGE_VAL, sum = 0, value;
        for (i = 0; i < op->n_expert; i++) most = x[i] > most ? x[i] : most;
        for (i = 0; i < op->n_expert; i++)
            if (x[i] == x[i] && (!op->norm || placed(x, op->n_expert, i) < op->n_used)) sum += exp((double)x[i] - most);
        for (i = 0; i < op->n_expert; i++) {
            const int place = placed(x, op->n_expert, i);
            if (place >= op->n_used) continue;
            value = x[i] == x[i] ? x[i] : -HUGE_VAL;
            want_id(s, op->ids + r * op->n_used + place, i);
            want(s, op->weights + r * op->n_used + place,
                 op->scale * (op->kind == HYB_ROUTE_SIGMOID ? 1 / (1 + exp(-value)) : exp(value - most) / sum));
        }
    }
}

static void draw_experts(side *s, hyb_op_experts *op)
{
    const hybrid_type type = draw_type(s);
    const int n_expert = draw_int(s, 2, 12), k = draw_k(s, type, 520);
    int32_t *ids;
    int r, u, i;
    draw_batch(s, draw_chance(s, 50) ? 3 : 50);
    op->rows = HYB_ROWS_BATCH;
    op->n = s->batch.n;
    op->n_used = draw_int(s, 1, OPS_SMALLER(n_expert, 5));
    op->each_own = draw_chance(s, 50);
    op->n_out = draw_int(s, 1, 2);
    ids = (int32_t *)malloc((size_t)(op->n * op->n_used) * sizeof *ids);
    for (r = 0; r < op->n; r++)
        for (u = 0; u < op->n_used; u++) {
            int32_t *row = ids + r * op->n_used;
            row[u] = draw_chance(s, 30) ? n_expert - 1 : draw_int(s, 0, n_expert - 1);
            for (i = 0; i < u; i++)
                if (row[i] == row[u]) {
                    row[u] = (row[u] + 1) % n_expert;
                    i = -1;
                }
        }
    op->ids = (const int32_t *)area_new(s, AREA_INTS, ids, (size_t)(op->n * op->n_used) * sizeof *ids, 0);
    op->x_stride = k + 4 * draw_int(s, 0, 2);
    op->x = draw_rows(s, op->each_own ? op->n * op->n_used : op->n, k, op->x_stride);
    for (i = 0; i < op->n_out; i++) {
        const int out = draw_size(s, 100);
        op->out[i].w = draw_matrix(s, type, k, out, n_expert);
        op->out[i].y_stride = draw_stride(s, out);
        op->out[i].y = draw_rows(s, op->n * op->n_used, out, op->out[i].y_stride);
    }
    s->limits.n_expert_used = op->n_used;
    s->level = k;
    s->near = near_of_products(type);
    s->exact = hybrid_type_block_size(type) > 1 ? 1.5e-2 : 2e-6;
}
static void exact_experts(side *s, const hyb_op_experts *op)
{
    int i, c;
    for (i = 0; i < op->n_out; i++)
        for (c = 0; c < op->n * op->n_used; c++)
            exact_product(s, HYBRID_TYPE_F32, op->out[i].w, op->ids[c],
                          op->x + (op->each_own ? c : c / op->n_used) * op->x_stride, NULL, NULL,
                          op->out[i].y + c * op->out[i].y_stride);
}

static void draw_combine(side *s, hyb_op_combine *op)
{
    op->n = draw_int(s, 1, 6);
    op->n_used = draw_chance(s, 80) ? draw_int(s, 1, 6) : draw_int(s, 7, HYB_EXPERTS_USED_MAX);
    op->n_embd = draw_chance(s, 20) && op->n_used < 7 ? draw_int(s, 2000, 9000) : draw_size(s, 1100);
    op->x = draw_rows(s, op->n * op->n_used, op->n_embd, op->n_embd);
    op->weights = draw_floats(s, op->n * op->n_used, 0.5f);
    op->out = draw_rows(s, op->n, op->n_embd, op->n_embd);
    op->add = draw_chance(s, 50) ? op->out : draw_rows(s, op->n, op->n_embd, op->n_embd);
    s->near = s->exact = 2e-6;
}
static void exact_combine(side *s, const hyb_op_combine *op)
{
    int64_t r, i, u;
    for (r = 0; r < op->n; r++)
        for (i = 0; i < op->n_embd; i++) {
            double sum = op->add[r * op->n_embd + i];
            for (u = 0; u < op->n_used; u++)
                sum += (double)op->weights[r * op->n_used + u] * op->x[(r * op->n_used + u) * op->n_embd + i];
            want(s, op->out + r * op->n_embd + i, sum);
        }
}

static int64_t draw_values(side *s) { return draw_chance(s, 20) ? draw_int(s, 4000, 20001) : draw_size(s, 5000); }
static void draw_add(side *s, hyb_op_add *op)
{
    op->n = draw_values(s);
    op->out = draw_floats(s, op->n, 1);
    op->a = draw_chance(s, 40) ? op->out : draw_floats(s, op->n, 1);
    op->b = draw_chance(s, 20) ? op->out : draw_floats(s, op->n, 1);
    s->near = 0;
    s->exact = 1e-7;
}
static void exact_add(side *s, const hyb_op_add *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) want(s, op->out + i, (double)op->a[i] + op->b[i]);
}
static void draw_scale(side *s, hyb_op_scale *op)
{
    op->n = draw_values(s);
    op->factor = draw_float(s);
    op->out = draw_floats(s, op->n, 1);
    op->x = draw_chance(s, 50) ? op->out : draw_floats(s, op->n, 1);
    s->near = 0;
    s->exact = 1e-7;
}
static void exact_scale(side *s, const hyb_op_scale *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) want(s, op->out + i, (double)op->x[i] * op->factor);
}
static void draw_softcap(side *s, hyb_op_softcap *op)
{
    op->n = draw_values(s);
    op->cap = draw_chance(s, 50) ? 1.5f : 30.0f;
    op->out = draw_floats(s, op->n, 3);
    op->x = draw_chance(s, 50) ? op->out : draw_floats(s, op->n, 3);
    s->near = 1e-6;
    s->exact = 5e-7;
}
static void exact_softcap(side *s, const hyb_op_softcap *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) want(s, op->out + i, op->cap * tanh((double)op->x[i] / op->cap));
}

static void draw_top_k(side *s, hyb_op_top_k *op)
{
    op->n_rows = draw_int(s, 1, 3);
    op->n = draw_chance(s, 60) ? draw_size(s, 2000) : draw_int(s, 4000, 9000);
    op->k = draw_chance(s, 20) ? (int)HYB_TOP_K_MAX : draw_int(s, 1, 70);
    op->stride = draw_stride(s, op->n);
    op->logits = draw_logits(s, op->n_rows, op->n, op->stride, false);
    op->ids = draw_ids(s, (int64_t)op->n_rows * op->k);
    op->values = draw_floats(s, (int64_t)op->n_rows * op->k, 1);
    op->stats = draw_floats(s, (int64_t)op->n_rows * 2, 1);
    s->limits.n_out = op->n_rows;
    s->limits.n_vocab = op->n;
    s->limits.n_top = op->k;
    s->near = s->exact = 5e-5; /* sums of thousands, one by one */
}
static const float *top_row;
static int by_logit(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    return top_row[i] > top_row[j] ? -1 : top_row[i] < top_row[j] ? 1 : i - j;
}
static void exact_top_k(side *s, const hyb_op_top_k *op)
{
    int *order = (int *)malloc((size_t)op->n * sizeof *order), r, i;
    for (r = 0; r < op->n_rows; r++) {
        double sum = 0;
        top_row = op->logits + r * op->stride;
        for (i = 0; i < op->n; i++) order[i] = i;
        qsort(order, (size_t)op->n, sizeof *order, by_logit);
        for (i = 0; i < op->k; i++) {
            want_id(s, op->ids + r * op->k + i, i < op->n ? order[i] : -1);
            want(s, op->values + r * op->k + i, i < op->n ? top_row[order[i]] : -HUGE_VAL);
        }
        for (i = 0; i < op->n; i++) sum += exp((double)top_row[i] - top_row[order[0]]);
        want(s, op->stats + 2 * r, top_row[order[0]]);
        want(s, op->stats + 2 * r + 1, sum);
    }
    free(order);
}

#include "ops_train.h"
#include "ops_parts.h"
#include "ops_rssm.h"

/* ---- the table: from the list ------------------------------------------------------------------------------------ */

typedef union any_op {
#define OP_MEMBER(name_) hyb_op_##name_ name_;
    HYB_OPS(OP_MEMBER, OP_MEMBER) HYB_TRAIN_OPS(OP_MEMBER)
#undef OP_MEMBER
} any_op;
typedef struct op_case {
    const char *name;
    void (*draw)(side *s, any_op *op);
    void (*exact)(side *s, const any_op *op);
    void (*run)(hyb_backend *be, const any_op *op);
    bool trains;
} op_case;

#define OP_FUNCTIONS(name_) \
    static void any_draw_##name_(side *s, any_op *op) { draw_##name_(s, &op->name_); } \
    static void any_exact_##name_(side *s, const any_op *op) { exact_##name_(s, &op->name_); } \
    static void any_run_##name_(hyb_backend *be, const any_op *op) { hyb_do_##name_(be, &op->name_); }
HYB_OPS(OP_FUNCTIONS, OP_FUNCTIONS)
HYB_TRAIN_OPS(OP_FUNCTIONS)
#undef OP_FUNCTIONS
static void any_draw_sinks_back(side *s, any_op *op) { draw_sinks_back(s, &op->attention_back); }
static void any_exact_sinks_back(side *s, const any_op *op) { exact_sinks_back(s, &op->attention_back); }
static const op_case op_cases[] = {
#define OP_CASE(name_) { #name_, any_draw_##name_, any_exact_##name_, any_run_##name_, false },
    HYB_OPS(OP_CASE, OP_CASE)
#undef OP_CASE
#define OP_CASE(name_) { #name_, any_draw_##name_, any_exact_##name_, any_run_##name_, true },
        HYB_TRAIN_OPS(OP_CASE)
#undef OP_CASE
        { "attention_back, sinks", any_draw_sinks_back, any_exact_sinks_back, any_run_attention_back, true },
};

/* ---- running and comparing --------------------------------------------------------------------------------------- */

/* What the areas hold now, one behind the other as they are. Freed by the caller. */
static char **side_run(side *s, const op_case *c, uint64_t seed, any_op *op, bool exact)
{
    char **after = (char **)calloc(AREAS, sizeof *after);
    hyb_backend *be = NULL;
    hybrid_error error;
    int i;
    memset(op, 0, sizeof *op);
    memset(&s->limits, 0, sizeof s->limits);
    s->n_areas = s->n_w = 0;
    s->n_wants = 0;
    s->seed = seed;
    s->turn = (int)(seed / 1000);
    s->level = 0;
    draw_batch(s, 20);
    c->draw(s, op);
    if (c->trains && !s->limits.n_train) s->limits.n_train = 1;
    for (i = 0; i < s->n_w; i++)
        CHECK(s->device->ops->show(s->device, &s->limits, &s->w[i]), "%s: no kernel for %s", s->name,
              hybrid_type_name(s->w[i].type));
    CHECK(!s->device->ops->flush(s->device, &error), "%s", error.message);
    if (s->device->ops->backend_create(s->device, &s->limits, &be, &error)) {
        CHECK(0, "%s: %s", s->name, error.message);
        test_end();
        exit(1);
    }
    if (exact) c->exact(s, op);
    be->ops->begin(be, &s->batch);
    c->run(be, op);
    for (i = 0; i < s->n_areas; i++) {
        after[i] = (char *)malloc(s->areas[i].bytes + 1);
        if (s->areas[i].bytes) be->ops->read(be, after[i], s->areas[i].memory + s->areas[i].shift, s->areas[i].bytes);
    }
    /* it sticks: nothing runs there any more */
    if (be->ops->sync(be, &error)) {
        CHECK(0, "%s: %s", s->name, error.message);
        test_end();
        exit(1);
    }
    be->ops->destroy(be);
    return after;
}
static void after_free(char **after)
{
    int i;
    for (i = 0; i < AREAS; i++) free(after[i]);
    free(after);
}

/* How far b is from a, of 1 + |a|; infinite when only one is NaN, or other infinities. */
static double apart(double a, double b)
{
    if (a != a || b != b) return a != a && b != b ? 0 : HUGE_VAL;
    if (a == b) return 0;
    return fabs(a - b) < HUGE_VAL ? fabs(a - b) / (1 + fabs(a)) : HUGE_VAL;
}
static double area_value(const area *a, const char *bytes, size_t i)
{
    const size_t row = a->kind == AREA_CACHE ? hybrid_type_row_bytes(a->type, (size_t)a->n) : 4;
    if (a->kind == AREA_FLOATS) return hyb_load_f32(bytes + 4 * i);
    if (a->kind == AREA_DOUBLES) return ((const double *)(const void *)bytes)[i];
    if (a->kind == AREA_CACHE)
        return hyb_kv_value_generic(a->type, bytes + i / (size_t)a->n * row, (int)(i % (size_t)a->n));
    return (double)(int32_t)hyb_load_u32(bytes + 4 * i);
}
static size_t area_values(const area *a)
{
    return a->kind == AREA_BYTES || a->kind == AREA_SCRATCH ? 0
           : a->kind == AREA_DOUBLES                        ? a->bytes / 8
           : a->kind == AREA_CACHE ? a->bytes / hybrid_type_row_bytes(a->type, (size_t)a->n) * (size_t)a->n
                                   : a->bytes / 4;
}
static bool same_bits(const area *a, const char *x, const char *y)
{
    size_t i;
    if (a->kind == AREA_SCRATCH || !memcmp(x, y, a->bytes)) return true;
    if (a->kind != AREA_FLOATS) return false;
    /* any NaN equals any NaN, for which operand's payload survives is the compiler's choice */
    for (i = 0; i < a->bytes / 4; i++) {
        const float u = hyb_load_f32(x + 4 * i), v = hyb_load_f32(y + 4 * i);
        if (hyb_f32_bits(u) != hyb_f32_bits(v) && !(u != u && v != v)) return false;
    }
    return true;
}

/* Every value that the statement names is near it, and what it does not name is as it was. */
static void side_exact(const side *s, const op_case *c, uint64_t seed, char **after)
{
    char **named = (char **)calloc(AREAS, sizeof *named);
    double worst[AREAS] = { 0 }, most[AREAS] = { 0 };
    size_t i;
    int a, wrong = 0, spoilt = 0;
    for (a = 0; a < s->n_areas; a++) named[a] = (char *)calloc(s->areas[a].bytes + 1, 1);
    for (i = 0; i < s->n_wants; i++) {
        const wanted *w = &s->wants[i];
        const char *at = (const char *)w->at, *start = NULL;
        size_t offset, row, j;
        double got;
        for (a = 0; a < s->n_areas; a++) {
            start = s->areas[a].memory + s->areas[a].shift;
            if (at >= start && at < start + s->areas[a].bytes) break;
        }
        if (a == s->n_areas) {
            wrong++;
            continue;
        }
        offset = (size_t)(at - start);
        row = s->areas[a].kind == AREA_CACHE ? hybrid_type_row_bytes(w->type, (size_t)s->areas[a].n)
              : w->is_double                 ? 8
                                             : 4;
        for (j = 0; j < row; j++) named[a][offset + j] = 1;
        if (w->is_id) {
            wrong += (int32_t)hyb_load_u32(after[a] + offset) != (int32_t)w->value;
            continue;
        }
        got = s->areas[a].kind == AREA_CACHE ? hyb_kv_value_generic(w->type, after[a] + offset, w->i)
              : w->is_double                 ? *(const double *)(const void *)(after[a] + offset)
                                             : hyb_load_f32(after[a] + offset);
        if (w->value != w->value || fabs(w->value) == HUGE_VAL)
            wrong += apart(w->value, got) != 0;
        else {
            const double d = fabs(w->value - got);
            worst[a] = d == d ? OPS_LARGER(worst[a], d) : HUGE_VAL;
            most[a] = OPS_LARGER(most[a], fabs(w->value));
        }
    }
    for (a = 0; a < s->n_areas; a++) {
        CHECK(worst[a] <= s->exact * (1 + most[a]), "%s %llu: %g of %g from the statement (area %d)", c->name,
              (unsigned long long)seed, worst[a], most[a], a);
        for (i = 0; i < s->areas[a].bytes && s->areas[a].kind != AREA_SCRATCH; i++)
            spoilt += !named[a][i] && after[a][i] != s->areas[a].before[i];
        free(named[a]);
    }
    free(named);
    CHECK(!wrong && !spoilt, "%s %llu: %d values are wrong, %d bytes changed that are no output", c->name,
          (unsigned long long)seed, wrong, spoilt);
}

/* One op on one side, against what the reference has left. near: else the same bits. */
static void side_compare(side *reference, char **want_after, side *s, const op_case *c, uint64_t seed, bool near)
{
    any_op op;
    char **after = side_run(s, c, seed, &op, false);
    int a;
    for (a = 0; a < reference->n_areas; a++) {
        const area *at = &reference->areas[a];
        size_t i, where = 0;
        double worst = 0, most = 0;
        if (same_bits(at, want_after[a], after[a])) {
            check_passed++;
            continue;
        }
        if (!near) {
            CHECK(0, "%s %llu (%d): %s leaves other bits (area %d)", c->name, (unsigned long long)seed, s->level,
                  s->name, a);
            continue;
        }
        for (i = 0; i < area_values(at); i++) {
            const double x = area_value(at, want_after[a], i), y = area_value(at, after[a], i);
            const double d = at->kind == AREA_INTS ? (x == y ? 0 : HUGE_VAL) : apart(x, y);
            if (!(d <= worst)) {
                worst = d;
                where = i;
            }
            if (fabs(x) < HUGE_VAL) most = OPS_LARGER(most, fabs(x));
        }
        /* a step of rounding */
        if (at->kind == AREA_CACHE) worst = worst <= (s->near == 0 ? 0 : kept_step(at->type) + s->near) ? 0 : worst;
        CHECK(worst <= s->near * sqrt(1 + s->level / 16.0), "%s %llu (%d): %s is %g away at value %llu of area %d",
              c->name, (unsigned long long)seed, s->level, s->name, worst, (unsigned long long)where, a);
    }
    after_free(after);
    side_end(s);
}

/* One draw of an op on the reference, held to the statement, and on each of the others. */
static void op_compare_one(const op_case *c, side *reference, side *others, int n_others, uint64_t seed, bool near)
{
    any_op op;
    char **after = side_run(reference, c, seed, &op, true);
    int t;
    side_exact(reference, c, seed, after);
    for (t = 0; t < n_others; t++) side_compare(reference, after, &others[t], c, seed, near);
    after_free(after);
    side_end(reference);
}

/* n draws. HYBRID_SEED: one draw, as a failure names it; HYBRID_TYPE: weights of one type. */
static void op_compare(const op_case *c, side *reference, side *others, int n_others, int n, bool near)
{
    const char *one = getenv("HYBRID_SEED");
    int i;
    for (i = 0; i < (one ? 1 : n); i++)
        op_compare_one(c, reference, others, n_others,
                       one ? strtoull(one, NULL, 10) : (uint64_t)i * 1000 + (uint64_t)(c - op_cases), near);
}

/* Every op so. HYBRID_ONLY: those whose name holds a word. */
static void ops_compare(side *reference, side *others, int n_others, int n, bool near)
{
    size_t o;
    for (o = 0; o < sizeof op_cases / sizeof *op_cases; o++) {
        TEST(op_cases[o].name);
        if (test_wanted(op_cases[o].name)) op_compare(&op_cases[o], reference, others, n_others, n, near);
    }
}

/* A side on the host. name: of an instruction set; false where this machine lacks it. */
static inline bool side_host(side *s, const char *name, int n_threads)
{
    static hyb_device devices[16];
    static int n_devices;
    hybrid_runtime_desc desc;
    memset(&desc, 0, sizeof desc);
    memset(s, 0, sizeof *s);
    desc.isa = name;
    desc.n_threads = n_threads;
    desc.device = "cpu";
    CHECK(!hybrid_runtime_create(&desc, &s->rt, NULL), "runtime %s", name);
    s->name = name;
    s->device = &devices[n_devices++];
    hyb_host_device(s->device, s->rt);
    if (!strcmp(hybrid_runtime_isa(s->rt), name)) return true;
    hybrid_runtime_destroy(s->rt);
    return false;
}
#endif
