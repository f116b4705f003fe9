/* [tsan] The types of tensors: layouts, decoders, encoders. Oracles: llama.cpp's bytes and values (shared/data/quant),
 * gguf-py's values and llama.cpp's errors (tests/oracle/make_quant.py), and plain statements in this file. */
#include "private.h"

#define TYPE_ID(id, number, values, bytes, suffix) HYBRID_TYPE_##id,
static const hybrid_type all_types[] = { HYB_TYPES(TYPE_ID) }, float_types[] = { HYB_FLOAT_TYPES(TYPE_ID) };
enum {
    N_TYPES = sizeof all_types / sizeof all_types[0],
    FIRST_BLOCK_TYPE = sizeof float_types / sizeof float_types[0],
    ROWS = 16,
    WIDTH = 256,
    N = ROWS * WIDTH,
    MOST_BYTES = N * 4
};

static bool same_bits(const float *a, const float *b, size_t n) { return memcmp(a, b, n * sizeof *a) == 0; }

static double error_of(const float *y, const float *x, const float *w, size_t n)
{
    double sum = 0;
    size_t i;
    for (i = 0; i < n; i++) sum += (w ? (double)w[i % WIDTH] : 1.0) * ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
    return sqrt(sum / (double)n);
}

/* ---- rows, the same as in tests/oracle/make_quant.py ------------------------------------------------------------- */

static uint64_t random_state;
static double random_unit(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 40) / 16777216.0;
}

static const char *const kinds[] = { "normal", "heavy",  "outliers", "tiny", "subnormal",
                                     "offset", "sparse", "constant", "steps" };
enum { N_KINDS = 9 };

static void make_rows(int kind, uint64_t seed, float *x)
{
    double level = 0;
    int i;
    random_state = seed;
    for (i = 0; i < N; i++) {
        double a = random_unit(), b = random_unit(), c = random_unit(), d = random_unit(), z = a + b + c + d - 2.0,
               pick = random_unit(), v = 0;
        switch (kind) {
        case 0: v = 0.05 * z; break;
        case 1: v = 0.05 * z * z * z; break;
        case 2: v = 0.05 * z * (pick < 0.01 ? 30.0 : 1.0); break;
        case 3: v = 1e-5 * z; break;
        case 4: v = 3e-7 * z; break;
        case 5: v = 5.0 + 0.3 * z; break;
        case 6: v = pick < 0.1 ? 0.05 * z : 0.0; break;
        case 7:
            if (i % WIDTH == 0) level = z;
            v = level;
            break;
        case 8:
            if (i % 16 == 0) level = 0.001 + pick * pick * pick;
            v = level * z;
            break;
        }
        x[i] = (float)v;
    }
}

static void make_importance(float *w)
{
    int i;
    random_state = 7;
    for (i = 0; i < WIDTH; i++) {
        double a = random_unit();
        w[i] = (float)(0.01 + a * a * a);
    }
    for (; i < N; i++) w[i] = w[i - WIDTH];
}

/* ---- the parts --------------------------------------------------------------------------------------------------- */

/* A type as gguf-py knows it: its size, some blocks, and what they mean. */
typedef struct known_type {
    uint32_t number, block, bytes, values; /* bytes of a block; values of all blocks, at most 256 */
    char name[8];
    uint16_t blocks[512];
    float want[256];
} known_type;

/* The next one of the file's bytes; false after the last. */
static bool next_type(const char *file, size_t size, size_t *at, known_type *t)
{
    const size_t head = 4 * 4 + sizeof t->name;
    size_t bytes;
    if (*at + head > size) return false;
    memcpy(t, file + *at, head);
    bytes = (size_t)t->values / t->block * t->bytes;
    *at += head;
    if (bytes > sizeof t->blocks || t->values > 256 || *at + bytes + 4 * t->values > size) return false;
    memcpy(t->blocks, file + *at, bytes);
    memcpy(t->want, file + *at + bytes, 4 * t->values);
    *at += bytes + 4 * t->values;
    return true;
}

static void test_type(const known_type *want)
{
    const hybrid_type t = (hybrid_type)want->number;
    const char *name = hybrid_type_name(t);
    static float x[512];
    uint16_t blocks[1024];
    memset(x, 0, sizeof x);
    CHECK(name && !strcmp(name, want->name), "type %d", (int)t);
    if (!name) return;
    CHECK(!strcmp(hybrid_gguf_tensor_type_name(want->number), name), "%s in a file", name);
    CHECK(hybrid_type_block_size(t) == want->block && hybrid_type_block_bytes(t) == want->bytes, "%s", name);
    CHECK(hybrid_type_row_bytes(t, 512) == 512 / want->block * want->bytes, "%s", name);
    CHECK(hybrid_type_row_bytes(t, SIZE_MAX - SIZE_MAX % 256) == 0 || want->bytes <= want->block, "%s overflows", name);
    CHECK(hybrid_quantize(t, NULL, NULL, 0, NULL, NULL) == HYBRID_OK &&
              hybrid_dequantize(t, NULL, NULL, 0, NULL) == HYBRID_OK,
          "%s: nothing", name);
    CHECK(hybrid_quantize(t, NULL, blocks, 256, NULL, NULL) == HYBRID_ERROR_INVALID &&
              hybrid_quantize(t, x, NULL, 256, NULL, NULL) == HYBRID_ERROR_INVALID,
          "%s", name);
    CHECK(hybrid_dequantize(t, NULL, x, 256, NULL) == HYBRID_ERROR_INVALID &&
              hybrid_dequantize(t, blocks, NULL, 256, NULL) == HYBRID_ERROR_INVALID,
          "%s", name);
    CHECK(hybrid_dequantize(t, want->blocks, x, want->values, NULL) == HYBRID_OK &&
              same_bits(x, want->want, want->values),
          "%s: decode", name);
    if (want->block == 1) return;
    CHECK(hybrid_type_row_bytes(t, 512 + 16) == 0, "%s", name);
    CHECK(hybrid_quantize(t, x, blocks, want->block + 16, NULL, NULL) == HYBRID_ERROR_INVALID, "%s", name);
    CHECK(hybrid_dequantize(t, blocks, x, want->block / 2, NULL) == HYBRID_ERROR_INVALID, "%s", name);
    CHECK(hybrid_dequantize(t, (char *)blocks + 1, x, want->block, NULL) == HYBRID_ERROR_INVALID, "%s: odd address",
          name);
}

static void test_table(void)
{
    static known_type known;
    float x[512] = { 0 };
    uint16_t blocks[1024];
    size_t size = 0, at = 0;
    int i, seen;
    char *file = read_file("tests/oracle/data/quant_decode.bin", &size);
    TEST("every type: gguf-py");
    CHECK(file != NULL, "tests/oracle/data/quant_decode.bin: run from the root of the repository");
    for (seen = 0; file && next_type(file, size, &at, &known); seen++) test_type(&known);
    CHECK(seen == N_TYPES && at == size, "%d types of %d (tests/oracle/make_quant.py)", seen, (int)N_TYPES);
    free(file);
    for (i = -2; i < 70; i++) {
        int k, known = 0;
        for (k = 0; k < N_TYPES; k++) known |= (int)all_types[k] == i;
        if (known) continue;
        CHECK(!hybrid_type_name((hybrid_type)i), "type %d is unknown", i);
        CHECK(!hybrid_type_block_size((hybrid_type)i), "type %d is unknown", i);
        CHECK(!hybrid_type_row_bytes((hybrid_type)i, 256), "type %d is unknown", i);
        CHECK(hybrid_quantize((hybrid_type)i, x, blocks, 256, NULL, NULL) == HYBRID_ERROR_INVALID, "type %d", i);
        CHECK(hybrid_dequantize((hybrid_type)i, blocks, x, 256, NULL) == HYBRID_ERROR_INVALID, "type %d", i);
    }
}

/* The value of a half, by the words of IEEE 754. */
static double half_value(unsigned h)
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double v = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

/* Is y (a finite neighbour or an infinity) what x rounds to, among values with the given neighbours: nearest, ties
 * to even? */
static bool rounds_to(double x, double below, double y, double above, bool even)
{
    double d = fabs(x - y);
    return d <= fabs(x - below) && d <= fabs(above - x) && (even || (d < fabs(x - below) && d < fabs(above - x)));
}

static void check_f32_to_f16(float f)
{
    unsigned h = hyb_f32_to_f16(f), a = h & 0x7FFF;
    double x = fabs((double)f), overflow = ldexp(1.0, 16);
    if (f != f) {
        CHECK(a > 0x7C00, "NaN becomes %04x", h);
        return;
    }
    CHECK(!!(h & 0x8000) == !!signbit(f), "sign of %a: %04x", (double)f, h);
    if (a == 0x7C00)
        CHECK(x >= 65520, "%a overflows", (double)f); /* half way to what would be the next */
    else if (a > 0x7C00)
        CHECK(0, "%a becomes NaN", (double)f);
    else
        CHECK(rounds_to(x, a ? half_value(a - 1) : -INFINITY, half_value(a), a == 0x7BFF ? overflow : half_value(a + 1),
                        !(a & 1)),
              "%a becomes %04x", (double)f, h);
}

static void check_f32_to_bf16(float f)
{
    unsigned h = hyb_f32_to_bf16(f), a = h & 0x7FFF;
    double x = fabs((double)f);
    if (f != f) {
        CHECK(a > 0x7F80, "NaN becomes %04x", h);
        return;
    }
    CHECK(!!(h & 0x8000) == !!signbit(f), "sign of %a: %04x", (double)f, h);
    if (a == 0x7F80)
        CHECK(x >= ldexp(511, 119), "%a overflows", (double)f);
    else if (a > 0x7F80)
        CHECK(0, "%a becomes NaN", (double)f);
    else {
        /* the spacing of bfloat16 at its exponent: 8 significant bits, never below 2^-133 */
        int exponent = (int)(a >> 7), fraction = (int)(a & 127);
        double ulp = ldexp(1.0, (exponent ? exponent : 1) - 134), y = (exponent ? 128 + fraction : fraction) * ulp;
        double below = y - (fraction == 0 && exponent > 1 ? ulp / 2 : ulp);
        CHECK(rounds_to(x, below, y, y + ulp, !(a & 1)), "%a becomes %04x", (double)f, h);
    }
}

static void test_floats(void)
{
    static uint16_t in[65536], out[65536];
    static float values[65536];
    unsigned h;
    int i;
    TEST("halves");
    for (h = 0; h < 65536; h++) in[h] = (uint16_t)h;
    CHECK(hybrid_dequantize(HYBRID_TYPE_F16, in, values, 65536, NULL) == HYBRID_OK, "all halves");
    CHECK(hybrid_quantize(HYBRID_TYPE_F16, values, out, 65536, NULL, NULL) == HYBRID_OK, "all halves, NaN too");
    for (h = 0; h < 65536; h++) {
        double want = half_value(h);
        if (want != want)
            CHECK(values[h] != values[h] && (out[h] | 0x200) == (h | 0x200), "NaN %04x -> %04x", h, out[h]);
        else
            CHECK((double)values[h] == want && !!signbit(values[h]) == (h >> 15) && out[h] == h, "%04x -> %a -> %04x",
                  h, (double)values[h], out[h]);
    }
    for (h = 0; h < 65536; h++) {
        /* the value, its float neighbours, and the same around the half-way point */
        uint32_t u = hyb_f32_bits(values[h]);
        float next = values[(h & 0x7FFF) < 0x7BFF ? h + 1 : h], middle = (float)(((double)values[h] + next) / 2);
        uint32_t m = hyb_f32_bits(middle);
        if ((h & 0x7FFF) >= 0x7C00) continue;
        for (i = -1; i <= 1; i++) {
            check_f32_to_f16(hyb_bits_f32(u + (uint32_t)i));
            check_f32_to_f16(hyb_bits_f32(m + (uint32_t)i));
        }
    }
    check_f32_to_f16(65519.996f);
    check_f32_to_f16(65520.0f);
    check_f32_to_f16(-65520.0f);

    TEST("brain floats");
    CHECK(hybrid_dequantize(HYBRID_TYPE_BF16, in, values, 65536, NULL) == HYBRID_OK, "all");
    CHECK(hybrid_quantize(HYBRID_TYPE_BF16, values, out, 65536, NULL, NULL) == HYBRID_OK, "all");
    for (h = 0; h < 65536; h++) {
        unsigned a = h & 0x7FFF;
        double want = a > 0x7F80    ? NAN
                      : a == 0x7F80 ? INFINITY
                                    : (a >> 7 ? 128 + (a & 127) : a) * ldexp(1.0, (int)(a >> 7 ? a >> 7 : 1) - 134);
        if (want != want)
            CHECK(values[h] != values[h] && (out[h] | 64) == (h | 64), "NaN %04x -> %04x", h, out[h]);
        else
            CHECK((double)values[h] == (h & 0x8000 ? -want : want) && out[h] == h, "%04x -> %a -> %04x", h,
                  (double)values[h], out[h]);
        for (i = -1; i <= 1; i++) {
            check_f32_to_bf16(hyb_bits_f32((h << 16) + (uint32_t)i));
            check_f32_to_bf16(hyb_bits_f32((h << 16) + 0x8000u + (uint32_t)i));
        }
    }
    random_state = 5;
    for (i = 0; i < 200000; i++) {
        float f = hyb_bits_f32((uint32_t)(random_unit() * 16777216.0) << 8 ^ (uint32_t)(random_unit() * 16777216.0));
        check_f32_to_f16(f);
        check_f32_to_bf16(f);
    }
}

/* Every byte of the types of 32 values, at every place, against the layout said in arithmetic. */
static void test_patterns(void)
{
    float y[32];
    int byte, j, i;
    TEST("byte patterns");
    for (byte = 0; byte < 256; byte++)
        for (j = 0; j < 16; j++) {
            hyb_block_q4_0 a;
            hyb_block_q4_1 b;
            hyb_block_q5_0 c;
            hyb_block_q5_1 e;
            hyb_block_q8_0 f;
            unsigned char high[4] = { (unsigned char)byte, (unsigned char)(byte * 7), (unsigned char)(byte * 13 + 5),
                                      (unsigned char)~byte };
            int low = byte % 16, top = byte / 16;
            memset(&a, 0, sizeof a);
            memset(&b, 0, sizeof b);
            memset(&c, 0, sizeof c);
            memset(&e, 0, sizeof e);
            memset(&f, 0, sizeof f);
            a.d = c.d = b.d = e.d = f.d = 0x3E00; /* 1.5 */
            b.m = e.m = 0xC880;                   /* -9 */
            a.qs[j] = b.qs[j] = c.qs[j] = e.qs[j] = (uint8_t)byte;
            memcpy(c.qh, high, 4);
            memcpy(e.qh, high, 4);
            hybrid_dequantize(HYBRID_TYPE_Q4_0, &a, y, 32, NULL);
            for (i = 0; i < 32; i++)
                CHECK(y[i] == 1.5f * (float)((i == j        ? low
                                              : i == j + 16 ? top
                                                            : 0) -
                                             8),
                      "Q4_0 byte %d at %d: value %d", byte, j, i);
            hybrid_dequantize(HYBRID_TYPE_Q4_1, &b, y, 32, NULL);
            for (i = 0; i < 32; i++)
                CHECK(y[i] == 1.5f * (float)(i == j        ? low
                                             : i == j + 16 ? top
                                                           : 0) -
                                  9,
                      "Q4_1 byte %d at %d: value %d", byte, j, i);
            hybrid_dequantize(HYBRID_TYPE_Q5_0, &c, y, 32, NULL);
            for (i = 0; i < 32; i++)
                CHECK(y[i] == 1.5f * (float)((i == j        ? low
                                              : i == j + 16 ? top
                                                            : 0) +
                                             16 * (high[i / 8] >> i % 8 & 1) - 16),
                      "Q5_0 byte %d at %d: value %d", byte, j, i);
            hybrid_dequantize(HYBRID_TYPE_Q5_1, &e, y, 32, NULL);
            for (i = 0; i < 32; i++)
                CHECK(y[i] == 1.5f * (float)((i == j        ? low
                                              : i == j + 16 ? top
                                                            : 0) +
                                             16 * (high[i / 8] >> i % 8 & 1)) -
                                  9,
                      "Q5_1 byte %d at %d: value %d", byte, j, i);
            f.qs[2 * j + 1] = (int8_t)(byte < 128 ? byte : byte - 256);
            hybrid_dequantize(HYBRID_TYPE_Q8_0, &f, y, 32, NULL);
            for (i = 0; i < 32; i++)
                CHECK(y[i] == (i == 2 * j + 1 ? 1.5f * (float)(byte < 128 ? byte : byte - 256) : 0.0f),
                      "Q8_0 byte %d at %d: value %d", byte, j, i);
        }
}

/* The packed 6-bit scales: bit by bit, then back. */
static void test_scales(void)
{
    uint8_t packed[12], again[12], sc[8], m[8];
    int8_t q3[16];
    int i, j;
    TEST("packed scales");
    random_state = 11;
    for (i = 0; i < 4096; i++) {
        for (j = 0; j < 12; j++) packed[j] = (uint8_t)(random_unit() * 256);
        hyb_scales_k4_unpack(packed, sc, m);
        for (j = 0; j < 8; j++) { /* the words of the format: get_scale_min_k4 */
            int want_sc = j < 4 ? packed[j] % 64 : packed[j + 4] % 16 + packed[j - 4] / 64 * 16;
            int want_m = j < 4 ? packed[j + 4] % 64 : packed[j + 4] / 16 + packed[j] / 64 * 16;
            CHECK(sc[j] == want_sc && m[j] == want_m, "Q4_K scale %d: %d %d, not %d %d", j, sc[j], m[j], want_sc,
                  want_m);
        }
        hyb_scales_k4_pack(sc, m, again);
        CHECK(!memcmp(packed, again, 12), "Q4_K scales packed again");
        hyb_scales_q3_unpack(packed, q3);
        for (j = 0; j < 16; j++) {
            int low = j < 8 ? packed[j] % 16 : packed[j - 8] / 16, high = packed[8 + j % 4] / (1 << 2 * (j / 4)) % 4;
            CHECK(q3[j] == low + 16 * high - 32, "Q3_K scale %d", j);
        }
        hyb_scales_q3_pack(q3, again);
        CHECK(!memcmp(packed, again, 12), "Q3_K scales packed again");
    }
}

/* "Q4_K" as q4_K, "IQ4_NL" as iq4_nl */
static void file_name(const char *type, char *name)
{
    size_t i, n = strlen(type);
    for (i = 0; i <= n; i++) {
        const bool big = type[i] >= 'A' && type[i] <= 'Z', last_k = i + 1 == n && type[i] == 'K';
        name[i] = (char)(big && !last_k ? type[i] + 32 : type[i]);
    }
}

/* Real weights that llama.cpp has quantized: decode to its bits; encode with no larger error. */
static void test_shared_rows(void)
{
    size_t n_source = 0, n_raw = 0, n_want = 0, n;
    float *source = (float *)(void *)read_file(data_path("quant/rows/source_64x256.f32"), &n_source), *y;
    int i, seen = 0;
    TEST("llama.cpp rows");
    if (!source) {
        SKIP("shared data quant/rows is absent: set HYBRID_DATA");
        return;
    }
    n = n_source / 4;
    y = (float *)malloc(n_source);
    for (i = 0; i < N_TYPES; i++) {
        char path[64], name[16], *raw;
        float *want;
        double ours, theirs;
        file_name(hybrid_type_name(all_types[i]), name);
        snprintf(path, sizeof path, "quant/rows/%s.raw", name);
        if (!data_path(path)) continue;
        raw = read_file(data_path(path), &n_raw);
        seen++;
        snprintf(path, sizeof path, "quant/rows/%s.dequant.f32", name);
        want = (float *)(void *)read_file(data_path(path), &n_want);
        CHECK(raw && want && n_want == n_source, "%s: files", name);
        CHECK(n_raw == hybrid_type_row_bytes(all_types[i], n), "%s: files", name);
        if (raw && want && n_want == n_source) {
            CHECK(hybrid_dequantize(all_types[i], raw, y, n, NULL) == HYBRID_OK && same_bits(y, want, n), "%s: decode",
                  name);
            CHECK(hybrid_quantize(all_types[i], source, raw, n, NULL, NULL) == HYBRID_OK &&
                      hybrid_dequantize(all_types[i], raw, y, n, NULL) == HYBRID_OK,
                  "%s: encode", name);
            ours = error_of(y, source, NULL, n);
            theirs = error_of(want, source, NULL, n);
            CHECK(ours <= theirs, "%s: error %.6g, llama.cpp %.6g", name, ours, theirs);
        }
        free(raw);
        free(want);
    }
    CHECK(seen >= 12, "%d types", seen);
    free(y);
    free(source);
}

/* Rows of nine kinds, and weighted ones: the error is no larger than that of llama.cpp's encoders. */
static void test_encode_error(void)
{
    static float x[N], y[N], w[N];
    static uint16_t blocks[MOST_BYTES / 2];
    char *text = read_file("tests/oracle/data/quant_error.txt", NULL), *line;
    int seen = 0;
    TEST("encode: no larger error than llama.cpp");
    CHECK(text != NULL, "tests/oracle/data/quant_error.txt: run from the root of the repository");
    make_importance(w);
    for (line = text; line && *line; line = strchr(line, '\n') + 1) {
        int type, kind;
        char name[32];
        double theirs, ours;
        bool weighted;
        if (sscanf(line, "%d %31s %lf", &type, name, &theirs) != 3) break;
        weighted = !strcmp(name, "importance");
        for (kind = 0; kind < N_KINDS - 1 && strcmp(name, kinds[kind]); kind++) {}
        make_rows(weighted ? 0 : kind, 1, x);
        CHECK(hybrid_quantize((hybrid_type)type, x, blocks, N, weighted ? w : NULL, NULL) == HYBRID_OK &&
                  hybrid_dequantize((hybrid_type)type, blocks, y, N, NULL) == HYBRID_OK,
              "%s", name);
        ours = 1e9 * error_of(y, x, weighted ? w : NULL, N);
        CHECK(ours <= theirs * 1.000005, "%s, %s: error %.6g, llama.cpp %.6g", hybrid_type_name((hybrid_type)type),
              name, ours, theirs);
        seen++;
    }
    CHECK(seen == (N_TYPES - FIRST_BLOCK_TYPE) * (N_KINDS + 1), "%d lines (tests/oracle/make_quant.py)", seen);
    free(text);
}

static void test_special_values(void)
{
    static float x[N], y[N], z[N], w[N];
    static uint16_t blocks[MOST_BYTES / 2], other[MOST_BYTES / 2];
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    int i, t, k;
    for (t = FIRST_BLOCK_TYPE; t < N_TYPES; t++) {
        hybrid_type type = all_types[t];
        const char *name = hybrid_type_name(type);
        int block = (int)hybrid_type_block_size(type);
        size_t bytes = hybrid_type_row_bytes(type, N);

        TEST("zeros");
        memset(x, 0, sizeof x);
        x[3] = x[300] = -0.0f;
        x[5] = 1e-42f;
        CHECK(hybrid_quantize(type, x, blocks, N, NULL, NULL) == HYBRID_OK &&
                  hybrid_dequantize(type, blocks, y, N, NULL) == HYBRID_OK,
              "%s", name);
        for (i = 0; i < N; i++) CHECK(y[i] == 0, "%s: value %d is %g", name, i, (double)y[i]);

        TEST("not numbers");
        make_rows(0, 2, x);
        hybrid_quantize(type, x, other, N, NULL, NULL);
        hybrid_dequantize(type, other, z, N, NULL);
        for (k = 0; k < 3; k++) {
            float was = x[1000];
            x[1000] = bad[k];
            CHECK(hybrid_quantize(type, x, blocks, N, NULL, NULL) == HYBRID_ERROR_NUMERIC &&
                      hybrid_dequantize(type, blocks, y, N, NULL) == HYBRID_OK,
                  "%s", name);
            for (i = 0; i < N; i++) {
                if (i / block == 1000 / block)
                    CHECK(y[i] != y[i], "%s: value %d beside one that is %g is %g", name, i, (double)bad[k],
                          (double)y[i]);
                else
                    CHECK(y[i] == z[i], "%s: value %d, in another block", name, i);
            }
            x[1000] = was;
        }

        TEST("large and small");
        for (k = -44; k <= 38; k++) {
            double ours, power = pow(10, k);
            for (i = 0; i < N; i++) y[i] = x[i] = (float)(power * (double)z[i]);
            CHECK(hybrid_quantize(type, x, blocks, N, NULL, NULL) == HYBRID_OK &&
                      hybrid_dequantize(type, blocks, y, N, NULL) == HYBRID_OK,
                  "%s: 1e%d", name, k);
            for (i = 0; i < N && fabsf(y[i]) <= 3.4e38f; i++) {}
            CHECK(i == N, "%s: 1e%d gives %g", name, k, (double)y[i % N]);
            ours = error_of(y, x, NULL, N);
            if (k >= -2 && k <= 4) CHECK(ours < 0.011 * power, "%s: 1e%d, error %g", name, k, ours);
        }

        TEST("importance");
        make_rows(0, 2, x);
        make_importance(w);
        memset(other, 1, bytes);
        memcpy(blocks, other, bytes);
        w[77] = -1;
        CHECK(hybrid_quantize(type, x, blocks, N, w, NULL) == HYBRID_ERROR_INVALID && !memcmp(blocks, other, bytes),
              "%s: negative", name);
        w[77] = NAN;
        CHECK(hybrid_quantize(type, x, blocks, N, w, NULL) == HYBRID_ERROR_INVALID && !memcmp(blocks, other, bytes),
              "%s: not a number", name);
        for (i = 0; i < N; i++) w[i] = i % 3 ? 1e-38f : 1e38f;
        for (i = 512; i < 544; i++) w[i] = 0; /* parts, and whole blocks, that nobody cares about */
        for (i = 1024; i < 1280; i++) w[i] = 0;
        CHECK(hybrid_quantize(type, x, blocks, N, w, NULL) == HYBRID_OK &&
                  hybrid_dequantize(type, blocks, y, N, NULL) == HYBRID_OK,
              "%s: extreme", name);
        for (i = 0; i < N; i++) CHECK(fabsf(y[i]) < 10 * 0.1f, "%s: value %d is %g", name, i, (double)y[i]);
        hybrid_quantize(type, x, other, N, NULL, NULL);
        for (i = 0; i < N; i++) w[i] = 4;
        CHECK(hybrid_quantize(type, x, blocks, N, w, NULL) == HYBRID_OK && !memcmp(blocks, other, bytes),
              "%s: all equal is none", name);
    }
}

/* Mixes: llama.cpp's type of every tensor of models of several kinds. */
static void test_mixes(void)
{
    enum { MOST = 200 };
    static struct {
        char name[64];
        int n_dims;
        uint64_t ne[4];
    } t[MOST];
    char arch[32], *text = read_file("tests/oracle/data/quant_mix.txt", NULL), *p = text;
    hybrid_mix_model model;
    int32_t heads[64];
    hybrid_mix mix;
    int n = 0, tied, at, i, number, type, seen = 0;
    TEST("mixes");
    CHECK(text != NULL, "tests/oracle/data/quant_mix.txt: run from the root of the repository");
    memset(&model, 0, sizeof model);
    while (p && *p) {
        if (sscanf(p, "model %31s %d %d %d %d %d %d\n%n", arch, &model.n_layer, &model.n_expert, &model.n_head,
                   &model.n_head_kv, &tied, &n, &at) == 7) {
            model.architecture = arch;
            model.tied_output = tied != 0;
            p += at;
            CHECK(n > 0 && n <= MOST, "%d tensors", n);
            model.n_head_kv_of = NULL;
            if (!strncmp(p, "heads ", 6)) {
                for (i = 0, p += 6; i < model.n_layer && i < 64; i++) heads[i] = (int32_t)strtol(p, &p, 10);
                p += strspn(p, "\n");
                model.n_head_kv_of = heads;
            }
            for (i = 0; i < n && n <= MOST; i++) {
                int d;
                sscanf(p, "%63s %d%n", t[i].name, &t[i].n_dims, &at);
                for (d = 0, p += at; d < 4; d++) t[i].ne[d] = d < t[i].n_dims ? strtoull(p, &p, 10) : 1;
                p += strspn(p, "\n");
            }
        } else if (sscanf(p, "mix %d%n", &number, &at) == 1) {
            for (i = 0, p += at; i < n; i++) {
                hybrid_type got = hybrid_quantize_type_for((hybrid_mix)number, &model, t[i].name, t[i].n_dims, t[i].ne,
                                                           HYBRID_TYPE_F32);
                type = (int)strtol(p, &p, 10);
                CHECK((int)got == type, "%s, %s: %s is %s, not %s", arch, hybrid_mix_name((hybrid_mix)number),
                      t[i].name, hybrid_type_name(got), hybrid_type_name((hybrid_type)type));
                seen++;
            }
            p += strspn(p, "\n");
        } else
            break;
    }
    CHECK(p && !*p, "%d types", seen);
    CHECK(seen > 3000, "%d types", seen);
    free(text);
    for (i = 0; hybrid_mix_at((size_t)i, &mix); i++) {
        hybrid_mix again = HYBRID_MIX_F32;
        CHECK(hybrid_mix_find(hybrid_mix_name(mix), &again) && again == mix, "mix %d", (int)mix);
    }
    CHECK(i == 17, "%d mixes", i);
    CHECK(!hybrid_mix_name((hybrid_mix)99), "%d mixes", i);
    CHECK(!hybrid_mix_find("Q9_K", &mix), "%d mixes", i);
    CHECK(!hybrid_mix_find("", &mix), "%d mixes", i);
    CHECK(!hybrid_mix_find(NULL, &mix), "%d mixes", i);
    CHECK(hybrid_mix_find("q4_k_m", &mix), "other spellings");
    CHECK(mix == HYBRID_MIX_Q4_K_M, "other spellings");
    CHECK(hybrid_mix_find("q5_K", &mix), "other spellings");
    CHECK(mix == HYBRID_MIX_Q5_K_M, "other spellings");
    CHECK(hybrid_quantize_type_for((hybrid_mix)99, &model, "output.weight", 2, t[0].ne, HYBRID_TYPE_Q8_0) ==
              HYBRID_TYPE_Q8_0,
          "an unknown mix changes nothing");
}

/* hybrid_convert is hybrid_dequantize and hybrid_quantize of every row, on any number of threads. */
static void test_convert(void)
{
    static float x[N], y[WIDTH], w[N];
    static uint16_t a[MOST_BYTES / 2], b[MOST_BYTES / 2], want[MOST_BYTES / 2];
    hybrid_error err;
    int threads, t, r;
    TEST("convert");
    make_rows(0, 4, x);
    make_importance(w);
    hybrid_quantize(HYBRID_TYPE_F16, x, a, N, NULL, NULL);
    for (threads = 1; threads <= 3; threads++) {
        hybrid_runtime_desc desc = { { NULL, NULL, NULL }, { NULL, NULL }, 0, NULL, NULL, NULL };
        hybrid_runtime *rt;
        desc.n_threads = threads;
        CHECK(hybrid_runtime_create(&desc, &rt, &err) == HYBRID_OK, "%s", err.message);
        for (t = 0; t < N_TYPES; t++) {
            size_t bytes = hybrid_type_row_bytes(all_types[t], WIDTH);
            for (r = 0; r < ROWS; r++) {
                hybrid_dequantize(HYBRID_TYPE_F16, a + r * WIDTH, y, WIDTH, NULL);
                hybrid_quantize(all_types[t], y, (char *)want + (size_t)r * bytes, WIDTH, w, NULL);
            }
            memset(b, 0xEE, sizeof b);
            CHECK(hybrid_convert(rt, HYBRID_TYPE_F16, a, all_types[t], b, ROWS, WIDTH, w, &err) == HYBRID_OK &&
                      !memcmp(b, want, ROWS * bytes),
                  "%s, %d threads", hybrid_type_name(all_types[t]), threads);
        }
        hybrid_runtime_destroy(rt);
    }
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, x, HYBRID_TYPE_Q4_K, b, ROWS, 128, NULL, &err) == HYBRID_ERROR_INVALID,
          "rows of 128");
    CHECK(hybrid_convert(NULL, (hybrid_type)99, x, HYBRID_TYPE_Q4_K, b, ROWS, WIDTH, NULL, &err) ==
              HYBRID_ERROR_INVALID,
          "an unknown type");
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, NULL, HYBRID_TYPE_Q4_K, b, ROWS, WIDTH, NULL, &err) ==
              HYBRID_ERROR_INVALID,
          "no source");
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, x, HYBRID_TYPE_Q4_K, b, SIZE_MAX / WIDTH, 0, NULL, &err) == HYBRID_OK,
          "nothing to do");
    w[3] = -1;
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, x, HYBRID_TYPE_Q4_K, b, ROWS, WIDTH, w, &err) == HYBRID_ERROR_INVALID,
          "negative importance");
    x[5] = NAN;
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, x, HYBRID_TYPE_Q4_K, b, ROWS, WIDTH, NULL, &err) ==
              HYBRID_ERROR_NUMERIC,
          "NaN");
    CHECK(hybrid_convert(NULL, HYBRID_TYPE_F32, x, HYBRID_TYPE_F16, b, ROWS, WIDTH, NULL, &err) == HYBRID_OK,
          "NaN in halves");
}

/* The bytes of the encoders, as a number for each type: equal under every compiler, optimisation level and instruction
 * set. A change of an encoder changes its number; then this line is to be changed with it, on purpose. */
static void test_same_everywhere(void)
{
    static const struct {
        hybrid_type type;
        uint64_t hash;
    } known[] = {
        /* clang-format off */
        { HYBRID_TYPE_F32, 0x8416cecdc626da21u },
        { HYBRID_TYPE_F16, 0xc6ffd9a4e42ae2f5u },
        { HYBRID_TYPE_BF16, 0x8f62ed0501ab71adu },
        { HYBRID_TYPE_Q4_0, 0xcc6a0ddc0aa92ae5u },
        { HYBRID_TYPE_Q4_1, 0xafa026a92bb63d18u },
        { HYBRID_TYPE_Q5_0, 0x4d952a58885e0ce9u },
        { HYBRID_TYPE_Q5_1, 0x1435cb230253909bu },
        { HYBRID_TYPE_Q8_0, 0x92c731f0b0649da5u },
        { HYBRID_TYPE_Q2_K, 0x74228d7d46c8d806u },
        { HYBRID_TYPE_Q3_K, 0xd5f8c0eba21eff5du },
        { HYBRID_TYPE_Q4_K, 0x9cd6ea09c6619569u },
        { HYBRID_TYPE_Q5_K, 0xc5c1d5ca5146cb7cu },
        { HYBRID_TYPE_Q6_K, 0xb00e46ed426c9606u },
        { HYBRID_TYPE_IQ4_NL, 0x0f8c1f878d7f13b3u },
        { HYBRID_TYPE_IQ4_XS, 0x12ff0f8affbc25ebu }
        /* clang-format on */
    };
    static float x[N], w[N];
    static uint16_t blocks[MOST_BYTES / 2];
    int t, k;
    size_t i;
    TEST("same bytes everywhere");
    make_importance(w);
    for (t = 0; t < N_TYPES; t++) {
        uint64_t hash = 14695981039346656037u, want = 0;
        for (k = 0; k < 2 * N_KINDS; k++) {
            make_rows(k / 2, 3, x);
            hybrid_quantize(all_types[t], x, blocks, N, k % 2 ? w : NULL, NULL);
            for (i = 0; i < hybrid_type_row_bytes(all_types[t], N); i++)
                hash = (hash ^ ((unsigned char *)blocks)[i]) * 1099511628211u;
        }
        for (i = 0; i < HYB_COUNT(known); i++)
            if (known[i].type == all_types[t]) want = known[i].hash;
        CHECK(hash == want, "{ HYBRID_TYPE_%s, 0x%016llxu }", hybrid_type_name(all_types[t]), (unsigned long long)hash);
    }
}

int main(void)
{
    test_table();
    test_floats();
    test_patterns();
    test_scales();
    test_shared_rows();
    test_encode_error();
    test_special_values();
    test_mixes();
    test_convert();
    test_same_everywhere();
    return test_end();
}
