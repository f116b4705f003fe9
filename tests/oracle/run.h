/* The runs that PyTorch does as well (make_run.py, test_train.c): what is read, and how it is learned. */
#ifndef RUN_H
#define RUN_H
#include <stdint.h>
#include <string.h>

typedef struct run_shape {
    const char *name;
    int32_t n_vocab, n_ctx, n_embd, n_layer, n_head, n_steps, n_warmup, n_seq, n_tokens; /* n_tokens: of a sequence */
} run_shape;

/* GPT-2 of 124 million weights, and a miniature of it. The large one is warmed up as such models are: without that its
 * loss leaps after the third step, and what differs in the last digit is soon 1e-3 apart. */
static const run_shape run_shapes[2] = { { "gpt2-mini", 320, 64, 48, 2, 4, 20, 0, 4, 32 },
                                         { "gpt2-124M", 50257, 1024, 768, 12, 12, 100, 50, 1, 64 } };

static void run_desc(const run_shape *s, hybrid_trainer_desc *d)
{
    memset(d, 0, sizeof *d);
    d->n_seq = s->n_seq;
    d->n_ctx = s->n_tokens;
    d->rate = 3e-4f;
    d->beta1 = 0.9f;
    d->beta2 = 0.95f;
    d->decay = 0.1f;
    d->clip = 1;
    d->n_warmup = s->n_warmup;
}

/* Of the fine-tuning: windows of a text, 2 of 64 tokens a step. */
static void run_tune_desc(hybrid_trainer_desc *d)
{
    memset(d, 0, sizeof *d);
    d->n_seq = 2;
    d->n_ctx = 64;
    d->rate = 2e-5f;
    d->beta1 = 0.9f;
    d->beta2 = 0.999f;
    d->decay = 0.01f;
    d->clip = 1;
}

/* The next n tokens of an endless text: most follow from the one before, so that there is something to learn. */
static void run_tokens(uint64_t *state, int32_t n_vocab, int32_t *ids, int32_t n)
{
    const int32_t common = n_vocab < 1000 ? n_vocab : 1000;
    int32_t i, last = (int32_t)(*state >> 32);
    uint32_t r = (uint32_t)*state;
    for (i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        last = (r >> 16) % 8 ? (last * 5 + 3) % common : (int32_t)((r >> 12) % (uint32_t)n_vocab);
        ids[i] = last;
    }
    *state = (uint64_t)last << 32 | r;
}

/* The batch of the next step: rows of a text each, one after the other. */
static void run_batch(const run_shape *s, uint64_t *state, int32_t *ids, int32_t *targets)
{
    int32_t row, more;
    uint64_t ahead;
    for (row = 0; row < s->n_seq; row++) {
        int32_t *at = ids + row * s->n_tokens, *to = targets + row * s->n_tokens;
        run_tokens(state, s->n_vocab, at, s->n_tokens);
        memcpy(to, at + 1, sizeof *to * (size_t)(s->n_tokens - 1));
        ahead = *state;
        run_tokens(&ahead, s->n_vocab, &more, 1);
        to[s->n_tokens - 1] = more;
    }
}

/* NULL: out says why. */
static hybrid_model *run_model(hybrid_runtime *rt, const run_shape *s, hybrid_error *e)
{
    hybrid_source text;
    hybrid_bpe_desc bpe;
    hybrid_model_shape shape;
    hybrid_tokenizer *tokenizer;
    hybrid_model *model = NULL;
    memset(&text, 0, sizeof text);
    memset(&bpe, 0, sizeof bpe);
    memset(&shape, 0, sizeof shape);
    text.data = "bytes";
    text.size = 5;
    bpe.texts = &text;
    bpe.n_texts = 1;
    bpe.vocab_size = 257;
    if (hybrid_bpe_train(rt, &bpe, &tokenizer, NULL, e)) return NULL;
    shape.architecture = "gpt2";
    shape.tokenizer = tokenizer;
    shape.n_vocab = s->n_vocab;
    shape.n_ctx = s->n_ctx;
    shape.n_embd = s->n_embd;
    shape.n_layer = s->n_layer;
    shape.n_head = s->n_head;
    shape.seed = 42;
    if (hybrid_model_create(rt, &shape, &model, e)) model = NULL;
    hybrid_tokenizer_destroy(tokenizer);
    return model;
}
#endif
