/* train_chat: a language model from nothing, in one program: trained, written as a GGUF, loaded, and talked with.
 *
 *     cc -O2 train_chat.c -o train_chat -lm              (hybrid.h beside it)
 *     ./train_chat                                       after half a minute, ask it: What does the cow say?
 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const says[][2] = { { "cow", "Moo" },   { "dog", "Woof" }, { "cat", "Meow" }, { "duck", "Quack" },
                                       { "sheep", "Baa" }, { "bee", "Buzz" }, { "pig", "Oink" }, { "lion", "Roar" } };
static hybrid_error e;
static void must(hybrid_result r)
{
    if (r) fprintf(stderr, "%s\n", e.message), exit(1);
}

int main(int argc, char **argv)
{
    enum { TALKS = 2000, STEPS = 150, ROWS = 8, LONG = 64 };
    static char text[TALKS * 64], line[256];
    static int32_t ids[ROWS * LONG], targets[ROWS * LONG];
    const char *piece;
    hybrid_source source = { .data = text };
    hybrid_bpe_desc vocabulary = { .texts = &source, .n_texts = 1, .vocab_size = 320 };
    hybrid_model_shape shape = { .n_layer = 2, .n_embd = 128 };
    hybrid_data_desc corpus = { .sources = &source, .n_sources = 1, .n_ctx = LONG };
    hybrid_trainer_desc how = { .n_seq = ROWS, .n_ctx = LONG, .rate = 2e-3f, .clip = 1 };
    hybrid_train_batch batch = { .ids = ids, .targets = targets };
    hybrid_train_metrics metrics = { 0 };
    hybrid_tokenizer *tokenizer;
    hybrid_model *model;
    hybrid_data *data;
    hybrid_trainer *trainer;
    hybrid_session *chat;
    if (argc > 1) return printf("%s: learns what animals say, writes animals.gguf, and chats\n", argv[0]), 0;
    for (int i = 0; i < TALKS; i++) {
        const char *const *a = says[rand() % (int)(sizeof says / sizeof *says)];
        source.size += (size_t)sprintf(text + source.size, "User: What does the %s say?\nAssistant: %s!\n", a[0], a[1]);
    }
    must(hybrid_bpe_train(NULL, &vocabulary, &tokenizer, NULL, &e));
    shape.tokenizer = corpus.tokenizer = tokenizer;
    must(hybrid_model_create(NULL, &shape, &how.model, &e));
    must(hybrid_data_create(NULL, &corpus, &data, &e));
    must(hybrid_trainer_create(&how, &trainer, &e));
    for (; metrics.step < STEPS; fprintf(stderr, "\rstep %d  loss %.3f ", (int)metrics.step, metrics.loss)) {
        must(hybrid_data_next(data, ROWS, ids, targets, &e));
        must(hybrid_trainer_step(trainer, &batch, &metrics, &e));
    }
    must(hybrid_trainer_export(trainer, "animals.gguf", HYBRID_MIX_Q8_0, &e));
    must(hybrid_model_load(NULL, &(hybrid_model_desc){ .path = "animals.gguf" }, &model, &e));
    must(hybrid_session_create(model, NULL, &chat, &e));
    for (printf("\n> "); fflush(stdout), fgets(line, sizeof line, stdin); printf("\n> ")) {
        line[strcspn(line, "\n")] = 0;
        hybrid_session_say(chat, line);
        while ((piece = hybrid_session_next(chat)) != NULL) fputs(piece, stdout);
    }
}
