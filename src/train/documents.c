/* train/documents: the texts of a corpus, one document after the other. Special tokens such as <|endoftext|> end one;
 * so does the end of a source. What is in memory is looked at where it lies. Files are read, not mapped: one that gets
 * shorter meanwhile is an error, not the end of the program. Of a file no more than one document is held. */
#ifndef HYB_TRAIN_DOCUMENTS_C
#define HYB_TRAIN_DOCUMENTS_C
#include "../core/file.c"
#include "../core/lifetime.c"
#include "../text/automaton.c"
#include "budget.c"

#ifndef HYB_DOCUMENT_BLOCK
    #define HYB_DOCUMENT_BLOCK ((size_t)1 << 20) /* bytes that are read at a time; tests choose less */
#endif

typedef struct hyb_documents {
    hyb_budget *memory;
    const hybrid_source *sources;
    size_t n_sources, source; /* the one that is open, or the next */
    /* specials: what begins with state s of the automaton; no suffixes are followed */
    hyb_automaton specials;
    const hybrid_string *special;
    bool first[256]; /* bytes that one begins with */
    int only;        /* the only such byte; -1: there are several, or none */
    bool open;
    hyb_file file;
    uint64_t offset;    /* of the file: bytes that were read */
    const uint8_t *all; /* the bytes at hand: buffer, or the whole of a source in memory */
    uint8_t *buffer;
    size_t room;
    size_t begin, end; /* of what is at hand and was not given yet */
    size_t scanned;    /* up to here no special token begins */
} hyb_documents;

typedef struct hyb_document {
    const uint8_t *text;
    size_t size;
    int special;   /* which one stands after it, -1: the source ends */
    size_t source; /* which one it is of */
} hyb_document;

/* strings: n_specials, none of them empty; they and the sources outlive d. */
static hybrid_result hyb_documents_make(hyb_documents *d, hyb_budget *memory, const hybrid_source *sources,
                                        size_t n_sources, const hybrid_string *strings, size_t n_specials,
                                        hybrid_error *error)
{
    hyb_automaton_source source;
    size_t i, n = 0;
    memset(d, 0, sizeof *d);
    d->memory = memory;
    d->sources = sources;
    d->n_sources = n_sources;
    d->special = strings;
    memset(&source, 0, sizeof source);
    source.strings = strings;
    source.n = n_specials;
    if (!hyb_automaton_make(memory->rt, &source, &d->specials))
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for %llu special tokens",
                        (unsigned long long)n_specials);
    d->only = -1;
    for (i = 0; i < 256; i++) {
        d->first[i] = d->specials.root[i] != 0;
        if (d->first[i] && n++ == 0)
            d->only = (int)i;
        else if (d->first[i])
            d->only = -1;
    }
    return HYBRID_OK;
}

/* Closes the readers of sources that are not opened. */
static void hyb_sources_close(const hybrid_source *sources, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (sources[i].reader.close) sources[i].reader.close(sources[i].reader.user);
    hyb_fp_plain();
}

/* Closes what is open, and the readers that were never come to. */
static void hyb_documents_free(hyb_documents *d)
{
    if (d->open) {
        hyb_file_close(&d->file);
        d->source++;
    }
    d->open = false;
    if (d->source < d->n_sources) hyb_sources_close(d->sources + d->source, d->n_sources - d->source);
    d->source = d->n_sources;
    if (d->memory) {
        hyb_budget_free(d->memory, d->buffer, d->room);
        hyb_automaton_free(d->memory->rt, &d->specials);
    }
    d->buffer = NULL;
    d->room = 0;
}

/* Where the next special token may begin, from p on. */
HYB_INLINE const uint8_t *hyb_documents_candidate(const hyb_documents *d, const uint8_t *p, const uint8_t *end)
{
    if (d->only >= 0) {
        p = (const uint8_t *)memchr(p, d->only, (size_t)(end - p));
        return p ? p : end;
    }
    while (p < end && !d->first[*p]) p++;
    return p;
}

/* The longest special token at p, -1: none. *short_of: there may be a longer one when more is at hand. */
static int hyb_documents_special_at(const hyb_documents *d, const uint8_t *p, const uint8_t *end, bool *short_of)
{
    const hyb_automaton *a = &d->specials;
    uint32_t s = 0;
    int best = -1;
    *short_of = false;
    for (;; p++) {
        HYB_STEPS(1);
        if (s && a->child[s] == a->child[s + 1]) return best;
        if (p == end) {
            *short_of = true;
            return best;
        }
        s = s ? hyb_automaton_child(a, s, *p) : a->root[*p];
        if (!s) return best;
        if (a->best[0][s] >= 0 && d->special[a->best[0][s]].size == a->depth[s]) best = a->best[0][s];
    }
}

/* Looks for the end of the document in what is at hand: false when it is not there. last: nothing more will come. */
static bool hyb_documents_scan(hyb_documents *d, bool last, hyb_document *out)
{
    const uint8_t *p = d->all + d->scanned, *end = d->all + d->end;
    bool short_of;
    int special;
    for (;; p++) {
        p = hyb_documents_candidate(d, p, end);
        d->scanned = (size_t)(p - d->all);
        if (p == end) break;
        special = hyb_documents_special_at(d, p, end, &short_of);
        if (short_of && !last) return false;
        if (special < 0) continue;
        out->text = d->all + d->begin;
        out->size = d->scanned - d->begin;
        out->special = special;
        d->begin = d->scanned += d->special[special].size;
        return true;
    }
    if (!last) return false;
    out->text = d->all + d->begin;
    out->size = d->end - d->begin;
    out->special = -1;
    d->begin = d->end;
    return true;
}

/* "text 3 ('name'): ..." */
static hybrid_result hyb_documents_blame(const hyb_documents *d, hybrid_result r, hybrid_error *error)
{
    const char *path = d->sources[d->source].path;
    char message[160];
    if (!error) return r;
    snprintf(message, sizeof message, "%.150s", error->message);
    return hyb_fail_at(error, r, error->offset, "text %llu%s%.60s%s: %s", (unsigned long long)d->source,
                       path ? " (" : "", path ? hyb_path_end(path, 60) : "", path ? ")" : "", message);
}

static hybrid_result hyb_documents_open(hyb_documents *d, hybrid_error *error)
{
    hybrid_result r = hyb_file_open_as(&d->sources[d->source], false, &d->file, error);
    if (!r && d->file.data && d->file.size > SIZE_MAX) {
        hyb_file_close(&d->file);
        r = hyb_fail(error, HYBRID_ERROR_LIMIT, "it does not fit into memory");
    }
    if (r) {
        r = hyb_documents_blame(d, r, error);
        d->source++; /* its reader is closed */
        return r;
    }
    d->open = true;
    d->offset = d->begin = d->scanned = d->end = 0;
    d->all = (const uint8_t *)"";
    if (d->file.data) {
        d->all = d->file.data;
        d->end = (size_t)d->file.size;
        d->offset = d->file.size;
    }
    return HYBRID_OK;
}

/* Reads the next bytes of the file after those at hand. */
static hybrid_result hyb_documents_read(hyb_documents *d, hybrid_error *error)
{
    const uint64_t left = d->file.size - d->offset;
    const size_t n = (size_t)HYB_MIN(left, (uint64_t)HYB_DOCUMENT_BLOCK);
    hybrid_result r;
    if (d->begin) memmove(d->buffer, d->buffer + d->begin, d->end - d->begin);
    d->scanned -= d->begin;
    d->end -= d->begin;
    d->begin = 0;
    if (d->room - d->end < n) {
        void *block = d->buffer;
        const size_t more = HYB_MAX(d->end + n, 2 * d->end);
        if (!hyb_budget_grow(d->memory, &block, &d->room, more, 1))
            return hyb_budget_fail(d->memory, "holding a document of a file", error);
        d->buffer = (uint8_t *)block;
    }
    d->all = d->buffer;
    if ((r = hyb_file_read(&d->file, d->offset, d->buffer + d->end, n, error)) != HYBRID_OK)
        return hyb_documents_blame(d, r, error);
    d->offset += n;
    d->end += n;
    return HYBRID_OK;
}

/* The next document, which may be empty; it lies where it is until the next call. *more: false after the last. */
static hybrid_result hyb_documents_next(hyb_documents *d, hyb_document *out, bool *more, hybrid_error *error)
{
    hybrid_result r;
    *more = false;
    if (!d->open) {
        if (d->source == d->n_sources) return HYBRID_OK;
        if ((r = hyb_documents_open(d, error)) != HYBRID_OK) return r;
    }
    while (!hyb_documents_scan(d, d->offset == d->file.size, out))
        if ((r = hyb_documents_read(d, error)) != HYBRID_OK) return r;
    out->source = d->source;
    *more = true;
    if (out->special < 0) {
        hyb_file_close(&d->file);
        d->open = false;
        d->source++;
    }
    return HYBRID_OK;
}

/* How much of all sources was given, 0..1; sources count alike. */
static float hyb_documents_fraction(const hyb_documents *d)
{
    double part = 0;
    if (!d->n_sources) return 1;
    if (d->open && d->file.size) part = (double)(d->offset - (d->end - d->begin)) / (double)d->file.size;
    return (float)(((double)d->source + part) / (double)d->n_sources);
}
#endif
