/* libFuzzer: bytes as a saved sequence or conversation. The first byte chooses the model, the second what is done to
 * the bytes: they are a file, or changes of a good one (a place of 2 bytes and a value each); its size and checksum are
 * set right, so that damage gets past them, or left; an allocation fails. What is loaded goes on; what is refused says
 * why, and the context is as usable as before. clang -g -O1 -fsanitize=fuzzer,address,undefined -I.
 * tests/fuzz/fuzz_saved.c -o fuzz_saved -lm &&
 *     ./fuzz_saved corpus tests/fuzz/fuzz_saved */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static void must(bool condition)
{
    if (!condition) __builtin_trap();
}

static size_t countdown = SIZE_MAX;
static void *fuzz_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    if (!countdown) return NULL;
    countdown--;
    return malloc(size);
}
static void fuzz_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

enum { MODELS = 3, TALK = 2, GOODS = 2 };
typedef struct kit {
    hybrid_model *model;
    hybrid_session *session; /* instead of a context and an adapter */
    hybrid_context *context;
    hybrid_adapter *adapter;
    unsigned char *good[GOODS]; /* with the cache, and without */
    size_t size[GOODS];
} kit;
static kit kits[MODELS];

static hybrid_save_desc desc_of(const kit *k, hybrid_named_adapter *named)
{
    hybrid_save_desc d;
    memset(&d, 0, sizeof d);
    named->id = "smith";
    named->adapter = k->adapter;
    d.adapters = named;
    d.n_adapters = 1;
    return d;
}

/* A sequence whose last tokens were read with an adapter. */
static void kit_fill(kit *k)
{
    static const int32_t ids[] = { 3, 5, 8, 13, 21, 34, 55 };
    hybrid_named_adapter named;
    hybrid_save_desc d = desc_of(k, &named);
    hybrid_target to;
    int i;
    must(!hybrid_batch_add(k->context, 0, ids, 7, NULL) && !hybrid_decode(k->context, NULL));
    must(!hybrid_seq_set_adapters(k->context, 0, &k->adapter, NULL, 1, NULL));
    must(!hybrid_batch_add(k->context, 0, ids, 5, NULL) && !hybrid_decode(k->context, NULL));
    for (i = 0; i < GOODS; i++) {
        d.recompute = i == 1;
        memset(&to, 0, sizeof to);
        k->size[i] = (size_t)hybrid_seq_save_size(k->context, 0, &d);
        to.data = k->good[i] = (unsigned char *)malloc(k->size[i]);
        to.capacity = k->size[i];
        must(!hybrid_seq_save(k->context, 0, &d, &to, NULL));
    }
}

/* A conversation in the middle of an answer that has a form. */
static void kit_talk(kit *k)
{
    static const char *const stops[] = { "abc", "xyz" };
    hybrid_session_desc d;
    hybrid_save_desc how;
    hybrid_target to;
    int i;
    memset(&d, 0, sizeof d);
    memset(&how, 0, sizeof how);
    d.system = "S";
    d.context.n_ctx = 96;
    d.context.n_batch = 16;
    d.sampler.temperature = 1;
    d.sampler.repetition_penalty = 1.1f;
    d.stops = stops;
    d.n_stops = 2;
    must(!hybrid_session_create(k->model, &d, &k->session, NULL));
    must(!hybrid_session_say_json(k->session, "A cat?", "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"));
    for (i = 0; i < 3; i++) must(hybrid_session_next(k->session) != NULL);
    for (i = 0; i < GOODS; i++) {
        how.recompute = i == 1;
        memset(&to, 0, sizeof to);
        k->size[i] = (size_t)hybrid_session_save_size(k->session, &how);
        to.data = k->good[i] = (unsigned char *)malloc(k->size[i]);
        to.capacity = k->size[i];
        must(!hybrid_session_save(k->session, &how, &to, NULL));
    }
}

static void kits_make(void)
{
    static const char *const paths[MODELS] = { "tests/oracle/data/models/llama.gguf",
                                               "tests/oracle/data/models/lfm2.gguf",
                                               "examples/data/stories260K-q8_0.gguf" };
    int i;
    for (i = 0; i < MODELS; i++) {
        kit *k = &kits[i];
        hybrid_runtime_desc rd;
        hybrid_runtime *rt;
        hybrid_model_desc md;
        hybrid_context_desc cd;
        hybrid_adapter_desc ad;
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        memset(&cd, 0, sizeof cd);
        memset(&ad, 0, sizeof ad);
        rd.allocator.alloc = fuzz_alloc;
        rd.allocator.free = fuzz_free;
        rd.n_threads = 1;
        md.path = paths[i];
        cd.n_ctx = 64;
        cd.n_seq = 2;
        cd.n_batch = 8;
        ad.rank = 2;
        must(!hybrid_runtime_create(&rd, &rt, NULL) && !hybrid_model_load(rt, &md, &k->model, NULL));
        if (i == TALK) {
            kit_talk(k);
            continue;
        }
        must(!hybrid_context_create(k->model, &cd, &k->context, NULL) &&
             !hybrid_adapter_create(k->model, &ad, &k->adapter, NULL));
        kit_fill(k);
    }
}

/* The bytes that are read. */
static unsigned char *bytes_of(const kit *k, unsigned how, const uint8_t *data, size_t size, size_t *n)
{
    const unsigned good = how >> 1 & 1;
    hyb_checksum *sum;
    unsigned char *bytes;
    uint64_t value;
    size_t i;
    *n = how & 1 ? k->size[good] : size;
    bytes = (unsigned char *)malloc(*n + 8);
    memcpy(bytes, how & 1 ? k->good[good] : data, *n);
    for (i = 0; (how & 1) && i + 3 <= size; i += 3) bytes[(data[i] + 256u * data[i + 1]) % *n] = data[i + 2];
    if (how & 4 || *n < 40) return bytes;
    value = *n;
    if (!(how & 1)) {
        memcpy(bytes, k->good[0], 32);
        memcpy(bytes + 16, &value, 8);
    }
    sum = (hyb_checksum *)calloc(1, sizeof *sum);
    hyb_checksum_add(sum, bytes, *n - 8);
    value = hyb_checksum_end(sum);
    memcpy(bytes + *n - 8, &value, 8);
    free(sum);
    return bytes;
}

static void go_on(const kit *k)
{
    const int32_t id = 7;
    must(hybrid_seq_length(k->context, 1) > 0 || hybrid_seq_back(k->context, 1, 0) == 0);
    must(!hybrid_batch_add(k->context, 1, &id, 1, NULL));
    if (hybrid_decode(k->context, NULL)) hybrid_batch_clear(k->context); /* a sequence as long as the context */
}

static void talk(kit *k, const hybrid_source *from)
{
    hybrid_error err;
    hybrid_result r;
    int i;
    err.message[0] = 0;
    r = hybrid_session_load(k->session, NULL, from, &err);
    countdown = SIZE_MAX;
    if (r) must(err.result == r && err.message[0]);
    for (i = 0; i < 3 && hybrid_session_next(k->session); i++) {}
    for (i = 0; i < (int)hybrid_session_count(k->session); i++)
        must(hybrid_session_message(k->session, (size_t)i).role != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hybrid_named_adapter named;
    hybrid_save_desc d;
    hybrid_source from;
    hybrid_error err;
    hybrid_result r;
    unsigned char *bytes;
    int32_t room;
    kit *k;
    if (!kits[0].model) kits_make();
    if (size < 2) return 0;
    k = &kits[data[0] % MODELS];
    memset(&from, 0, sizeof from);
    bytes = bytes_of(k, data[1], data + 2, size - 2, &from.size);
    from.data = bytes;
    if (data[1] & 8) countdown = data[1] >> 4;
    if (k->session) {
        talk(k, &from);
        free(bytes);
        return 0;
    }
    d = desc_of(k, &named);
    room = hybrid_context_room(k->context);
    err.message[0] = 0;
    r = hybrid_seq_load(k->context, 1, &d, &from, &err);
    countdown = SIZE_MAX;
    if (!r)
        go_on(k);
    else
        must(err.result == r && err.message[0] && !hybrid_seq_length(k->context, 1) &&
             hybrid_context_room(k->context) == room);
    must(!hybrid_seq_remove(k->context, 1, 0, NULL) && !hybrid_seq_set_adapters(k->context, 1, NULL, NULL, 0, NULL));
    must(hybrid_context_room(k->context) == room);
    free(bytes);
    return 0;
}
