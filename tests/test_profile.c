/* What the ops of a model are asked for and what HYBRID_PROFILE counts of them: the only test with it, so it holds a
 * library of its own.
 * [no-simd] [no-asan] */
#define HYBRID_IMPLEMENTATION
#define HYBRID_PROFILE
#include "../src/hybrid_all.c"
#include "check.h"

/* A back end that looks at what it is asked for, and has another do it. */
typedef struct spy {
    hyb_backend_ops ops;
    const hyb_backend_ops *real;
    int calls[HYB_OP_COUNT], wrong, gathered;
    double bytes;
} spy;
static spy watched;
static void watch(hyb_backend *be, hyb_op id, const void *op, double bytes)
{
    hyb_rows rows;
    int n;
    watched.calls[id]++;
    watched.bytes += bytes;
    if (id != HYB_OP_matmul && id != HYB_OP_experts) return;
    rows = id == HYB_OP_matmul ? ((const hyb_op_matmul *)op)->rows : ((const hyb_op_experts *)op)->rows;
    n = id == HYB_OP_matmul ? ((const hyb_op_matmul *)op)->n : ((const hyb_op_experts *)op)->n;
    watched.gathered += rows == HYB_ROWS_OUT;
    watched.wrong += n != (rows == HYB_ROWS_OUT ? be->batch->n_out : be->batch->n);
}
#define SPY(name_) \
    static void spy_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
    { \
        watch(be, HYB_OP_##name_, op, hyb_bytes_##name_(op, be->batch)); \
        watched.real->name_(be, op); \
    }
#define SPY_PARTS(name_)
HYB_OPS(SPY, SPY_PARTS)
#undef SPY

static void test_model(const char *path)
{
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_model *m = NULL;
    hybrid_context *c = NULL;
    hybrid_error e;
    hyb_backend *be;
    const int32_t ids[7] = { 1, 5, 9, 13, 17, 21, 25 };
    char text[4096], line[32], cut[16 + 1];
    size_t length;
    double bytes = 0;
    int op, at = 0;
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = path;
    cd.n_ctx = 64;
    cd.n_seq = 2;
    if (hybrid_model_load(NULL, &md, &m, &e) || hybrid_context_create(m, &cd, &c, &e)) {
        CHECK(0, "%s: %s", path, e.message);
        return;
    }
    be = c->forward.stages[0].be;
    memset(&watched, 0, sizeof watched);
    watched.real = be->ops;
    watched.ops = *be->ops;
#define SPY(name_) watched.ops.name_ = spy_##name_;
    HYB_OPS(SPY, SPY_PARTS)
#undef SPY
    be->ops = &watched.ops;
    CHECK(!hybrid_batch_add(c, 0, ids, 7, &e), "%s", e.message);
    CHECK(!hybrid_batch_add(c, 1, ids, 3, &e), "%s", e.message);
    CHECK(!hybrid_decode(c, &e), "%s", e.message);
    CHECK(!watched.wrong && watched.gathered >= 3, "%s: %d products do not know their rows, %d are of gathered ones",
          path, watched.wrong, watched.gathered);
    TEST("profile");
    for (op = 0; op < HYB_OP_COUNT; op++) {
        CHECK(be->profile[op].calls == (uint64_t)watched.calls[op], "%s: %d calls of %s are %d", path,
              watched.calls[op], hyb_op_name((hyb_op)op), (int)be->profile[op].calls);
        bytes += be->profile[op].bytes;
    }
    CHECK(bytes == watched.bytes && bytes > 0, "%g bytes, not %g", bytes, watched.bytes);
    length = hybrid_context_profile(c, text, sizeof text);
    CHECK(length == strlen(text), "%d characters", (int)length);
    CHECK(hybrid_context_profile(c, NULL, 0) == length, "%d characters", (int)length);
    CHECK(hybrid_context_profile(NULL, NULL, 0) == 0, "%d characters", (int)length);
    cut[16] = '#';
    CHECK(hybrid_context_profile(c, cut, 16) == length, "cut: %s", cut);
    CHECK(strlen(cut) == 15, "cut: %s", cut);
    CHECK(!strncmp(cut, text, 15), "cut: %s", cut);
    CHECK(cut[16] == '#', "cut: %s", cut);
    CHECK(!strncmp(text, "op on cpu", 9), "%s", text);
    for (op = 0; op < HYB_OP_COUNT; op++) { /* a line for each op that was called, and no other */
        snprintf(line, sizeof line, "\n%-12s", hyb_op_name((hyb_op)op));
        CHECK((strstr(text, line) != NULL) == (watched.calls[op] > 0), "%s:\n%s", hyb_op_name((hyb_op)op), text);
    }
    for (op = 0; text[op]; op++) at += text[op] == '\n';
    for (op = 0; op < HYB_OP_COUNT; op++) at -= watched.calls[op] > 0;
    CHECK(at == 2, "a head, the ops, their sum:\n%s", text);
    if (getenv("HYBRID_VERBOSE")) printf("%s", text);
    hybrid_context_profile_reset(c);
    CHECK(hybrid_context_profile(c, text, sizeof text) < length && !strstr(text, "matmul"), "%s", text);
    be->ops = watched.real;
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

int main(void)
{
    test_model("examples/data/stories260K-q8_0.gguf");
    test_model("tests/oracle/data/models/qwen2moe.gguf");
    return test_end();
}
