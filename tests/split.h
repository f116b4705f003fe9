/* split: cuts an open GGUF file into parts as llama-gguf-split and gguf-py do: the first holds the keys, all of them
 * say which part they are.
 * The file that includes this has included hybrid and check.h. */
#ifndef SPLIT_H
#define SPLIT_H

enum { SPLIT_MOST = 8 };
typedef enum split_way { SPLIT_IN_ORDER, SPLIT_SCATTERED, SPLIT_FIRST_EMPTY, SPLIT_WAYS } split_way;

typedef struct split_set {
    int n;
    char *data[SPLIT_MOST];
    size_t size[SPLIT_MOST], room[SPLIT_MOST];
    int current;
} split_set;

static bool split_write(void *user, const void *data, size_t n)
{
    split_set *s = (split_set *)user;
    const int i = s->current;
    if (s->size[i] + n > s->room[i]) {
        s->room[i] = 2 * (s->size[i] + n);
        s->data[i] = (char *)realloc(s->data[i], s->room[i]);
    }
    memcpy(s->data[i] + s->size[i], data, n);
    s->size[i] += n;
    return true;
}

/* The part that tensor i of `count` goes to. */
static int split_part_of(split_way way, int n, size_t i, size_t count)
{
    if (way == SPLIT_SCATTERED) return (int)((5 * i + 2) % (size_t)n);
    if (way == SPLIT_FIRST_EMPTY && n > 1) return 1 + (int)(i * (size_t)(n - 1) / count);
    return (int)(i * (size_t)n / count);
}

static void split_make(const hybrid_gguf *g, int n, split_way way, split_set *s)
{
    const size_t count = hybrid_gguf_tensor_count(g);
    size_t i;
    memset(s, 0, sizeof *s);
    for (s->n = n; s->current < n; s->current++) {
        hybrid_gguf_writer *w;
        hybrid_error error;
        bool good = !hybrid_gguf_writer_create(NULL, &w, NULL);
        memset(&error, 0, sizeof error);
        if (!s->current) hybrid_gguf_copy_keys(w, g, NULL);
        hybrid_gguf_set_int(w, "split.no", HYBRID_GGUF_U16, s->current, NULL);
        hybrid_gguf_set_int(w, "split.count", HYBRID_GGUF_U16, n, NULL);
        hybrid_gguf_set_int(w, "split.tensors.count", HYBRID_GGUF_I32, (int64_t)count, NULL);
        for (i = 0; i < count; i++) {
            const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
            char name[128];
            snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
            if (split_part_of(way, n, i, count) == s->current)
                hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, NULL);
        }
        good = good && !hybrid_gguf_begin(w, split_write, s, &error);
        for (i = 0; i < count && good; i++) {
            const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
            if (split_part_of(way, n, i, count) == s->current)
                good = !hybrid_gguf_write(w, t->data, (size_t)t->size, &error);
        }
        CHECK(good && !hybrid_gguf_end(w, &error), "part %d of %d: %s", s->current + 1, n, error.message);
        hybrid_gguf_writer_destroy(w);
    }
}

static void split_free(split_set *s)
{
    int i;
    for (i = 0; i < s->n; i++) free(s->data[i]);
    memset(s, 0, sizeof *s);
}

/* prefix-00001-of-0000N.gguf ...: the path of part i, in one of four buffers. */
static const char *split_path(const char *prefix, int i, int n)
{
    static char path[4][600];
    static int at;
    char *p = path[at++ % 4];
    snprintf(p, sizeof path[0], "%s-%05d-of-%05d.gguf", prefix, i + 1, n);
    return p;
}

static void split_save(const split_set *s, const char *prefix)
{
    int i;
    for (i = 0; i < s->n; i++) {
        FILE *f = fopen(split_path(prefix, i, s->n), "wb");
        CHECK(f && fwrite(s->data[i], 1, s->size[i], f) == s->size[i], "cannot write %s", split_path(prefix, i, s->n));
        if (f) fclose(f);
    }
}

static void split_remove(const split_set *s, const char *prefix)
{
    int i;
    for (i = 0; i < s->n; i++) remove(split_path(prefix, i, s->n));
}

/* A name in the folder for what passes. */
static const char *split_scratch(const char *what)
{
    static char path[2][512];
    static int at;
    char *p = path[at++ % 2];
    const char *folder = getenv("TMPDIR");
    snprintf(p, sizeof path[0], "%s/hybrid-%s-%ld", folder ? folder : "/tmp", what, (long)getpid());
    return p;
}
#endif
