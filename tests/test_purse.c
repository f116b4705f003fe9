/* What guesses may cost, at most: an answer in which none comes takes a little longer, by construction, however much is
 * hoped of them and whatever the clock says; one in which all come has its guesses soon. Counted in rows. */
#include "private.h"
#include "speculation.h"

enum { TOKENS = 150 };

/* Writes the script, hoping for all of each guess, in a world where no time was ever measured. Returns the decodes of a
 * row that guesses cost, less those that they saved, as the prices have it; *n: guesses. */
static float lost(hybrid_stream *s, const script *text, const int32_t *prompt, size_t n_prompt, int32_t *n,
                  int32_t *decodes)
{
    static script copy;
    hybrid_stream_info info;
    hybrid_piece p;
    hybrid_error e;
    float cost = 0;
    int k;
    copy = *text;
    s->sampler->desc.function_user = &copy;
    CHECK(!hybrid_stream_begin(s, prompt, n_prompt, &e), "%s", e.message);
    *decodes = 0;
    do {
        const int32_t before = s->info.n_guessed;
        memset(&s->ctx->row_times, 0, sizeof s->ctx->row_times);
        s->ctx->streams_choice_us = 0;
        for (k = 0; k < HYB_GUESS_KINDS; k++) s->guess.hope[k] = 0.99f;
        if (hybrid_stream_step(s, UINT64_MAX, &p, &e)) CHECK(false, "%s", e.message);
        cost += hyb_guess_price(s->info.n_guessed - before); /* of one decode at most */
        *decodes += s->info.n_guessed > before;
    } while (!p.stop);
    hybrid_stream_describe(s, &info);
    *n = info.n_guessed;
    return cost - (float)info.n_right;
}

int main(void)
{
    static script wrong, right;
    static int32_t prompt[6] = { 1, 300, 301, 302, 303, 304 };
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_stream_desc d;
    hybrid_model *m = NULL;
    hybrid_context *c = NULL;
    hybrid_stream *s = NULL;
    hybrid_error e;
    float cost;
    int32_t n, decodes, i, how;
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    memset(&d, 0, sizeof d);
    md.path = "examples/data/stories260K-q8_0.gguf";
    cd.n_ctx = 512;
    cd.n_logits = 16;
    for (i = 0; i < TOKENS; i++) {
        wrong.ids[i] = i % 3 == 2 ? 310 + i / 3 : 300 + i % 3; /* after the first two of three, always another one */
        right.ids[i] = 300 + i % 5;
    }
    CHECK(!hybrid_model_load(NULL, &md, &m, &e) && !hybrid_context_create(m, &cd, &c, &e), "%s", e.message);
    d.max_tokens = TOKENS;
    d.sampler.function = as_written;
    d.sampler.function_user = &wrong;
    d.sampler.n_function = 512;
    for (how = 0; how < 2; how++) {
        TEST(how ? "always" : "auto");
        d.speculation = how ? HYBRID_SPECULATION_ALWAYS : HYBRID_SPECULATION_AUTO;
        CHECK(!hybrid_stream_create(c, &d, &s, &e), "%s", e.message);
        cost = lost(s, &wrong, prompt, 6, &n, &decodes);
        printf("%d guesses in %d decodes, all wrong: %.2f decodes for nothing, of %d\n", n, decodes, cost, TOKENS);
        if (how) {
            CHECK(cost > 0.5f * TOKENS, "%.2f: guesses that cost nothing show nothing", cost);
            hybrid_stream_destroy(s);
            continue;
        }
        CHECK(n > 4 && cost <= 0.05f * TOKENS, "%d wrong guesses cost %.2f decodes, beside %d tokens", n, cost, TOKENS);
        cost = lost(s, &wrong, prompt, 6, &n, &decodes); /* another answer: it does not begin with more than is left */
        CHECK(cost <= 0.05f * TOKENS, "%d wrong guesses cost %.2f decodes", n, cost);
        cost = lost(s, &right, prompt, 6, &n, &decodes);
        printf("%d guesses, all right: %.2f decodes saved, of %d\n", n, -cost, TOKENS);
        CHECK(cost < -0.5f * TOKENS, "%d right guesses saved %.2f decodes", n, -cost);
        cost = lost(s, &wrong, prompt, 6, &n, &decodes); /* what was saved there is not for this one */
        CHECK(cost <= 0.05f * TOKENS, "%d wrong guesses cost %.2f decodes", n, cost);
        hybrid_stream_destroy(s);
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    return test_end();
}
