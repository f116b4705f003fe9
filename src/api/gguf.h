/* ---- gguf: what is in a model file, and writing one ----------------------------------------------------------------
 *
 *     hybrid_gguf *file;
 *     hybrid_source source = { 0 };
 *     source.path = "model.gguf";
 *     if (hybrid_gguf_open(NULL, &source, &file, &error)) puts(error.message);
 *
 * A file is untrusted: opening it checks everything but the numbers inside the tensors. Versions 2 and 3,
 * little-endian. */
#ifndef HYB_API_GGUF_H
#define HYB_API_GGUF_H
#include "quant.h"

/* Bytes of a file: not zero-terminated, not necessarily UTF-8. They live as long as the object that gave them. */
typedef struct hybrid_string {
    const char *data;
    size_t size;
} hybrid_string;

/* What a file may hold at most; more is HYBRID_ERROR_LIMIT. Counts are also checked against the size of the file before
 * anything is allocated for them. */
#define HYBRID_GGUF_MAX_KEYS     65536
#define HYBRID_GGUF_MAX_TENSORS  65536
#define HYBRID_GGUF_MAX_NAME     65535      /* bytes of a key or of a tensor's name */
#define HYBRID_GGUF_MAX_METADATA 0x40000000 /* bytes before the tensors' data: 1 GiB */
#define HYBRID_GGUF_MAX_DEPTH    8          /* arrays in arrays in ... */
#define HYBRID_GGUF_MAX_PARTS    1024       /* files of a model that was split */

/* Types of values; the numbers are those of the format. */
typedef enum hybrid_gguf_type {
    HYBRID_GGUF_U8 = 0,
    HYBRID_GGUF_I8,
    HYBRID_GGUF_U16,
    HYBRID_GGUF_I16,
    HYBRID_GGUF_U32,
    HYBRID_GGUF_I32,
    HYBRID_GGUF_F32,
    HYBRID_GGUF_BOOL,
    HYBRID_GGUF_STRING,
    HYBRID_GGUF_ARRAY,
    HYBRID_GGUF_U64,
    HYBRID_GGUF_I64,
    HYBRID_GGUF_F64
} hybrid_gguf_type;

/* "u8", "string", "array"...; NULL for a number that is not a type. Thread-safe. */
HYBRID_API const char *hybrid_gguf_type_name(hybrid_gguf_type type);

/* The name of a tensor's type_id: "Q4_K", also of types that hybrid cannot run ("IQ3_S"); "unknown" for other
 * numbers. Thread-safe. */
HYBRID_API const char *hybrid_gguf_tensor_type_name(uint32_t type_id);

/* The value of a key. A number or string looks like an array of one item, so that hybrid_gguf_item_... read it at index
 * 0.
 * data is as in the file: little-endian, unaligned; for one string its characters; for an array its items one after
 * another (strings with a u64 of their size before them, arrays with a u32 of their item type and a u64 of their
 * count). */
typedef struct hybrid_gguf_value {
    hybrid_gguf_type type;
    hybrid_gguf_type item_type; /* of the items of an array, else type */
    uint64_t count;             /* of the items of an array, else 1 */
    const void *data;
    uint64_t size;         /* bytes at data */
    const uint32_t *index; /* private: where the strings or arrays of an array begin; NULL in values of your own */
} hybrid_gguf_value;

/* A tensor. ne[0] is the contiguous dimension; unused dimensions are 1; one of 0 elements has no bytes. A type that
 * hybrid does not know keeps its number in type_id;
 * type is then HYBRID_TYPE_LAST_ and size 0: the file can be looked at, the tensor cannot be read. */
typedef struct hybrid_gguf_tensor {
    hybrid_string name;
    hybrid_type type;
    uint32_t type_id;
    int32_t n_dims; /* 0..4 */
    uint64_t ne[4];
    uint64_t offset;  /* of the first byte in the file */
    uint64_t size;    /* bytes */
    const void *data; /* when the file is mapped or in memory, else NULL: hybrid_gguf_read_tensor */
    uint32_t part;    /* which file that is, of a model that was split; else 0 */
} hybrid_gguf_tensor;

typedef struct hybrid_gguf hybrid_gguf;

/* Opens and checks a file. runtime may be NULL. A path is mapped where the system can; the bytes of a memory source
 * must outlive the gguf; a reader is asked for a few large blocks and closed by hybrid_gguf_destroy (or at once on
 * failure).
 * A model that was split ("NAME-00001-of-00003.gguf"): the path of any part is enough, the others are found beside it
 * by their names;
 * otherwise give all parts, in any order, as source->parts. It then looks as if it had never been split: the keys and
 * tensors of all parts, without the keys that say how it was cut (split.no, split.count, split.tensors.count).
 * HYBRID_ERROR_FORMAT: no GGUF, truncated or damaged (error->offset says where), or parts of different models.
 * HYBRID_ERROR_NOT_FOUND:
 * a part was not given. HYBRID_ERROR_UNSUPPORTED: version 1, big-endian. HYBRID_ERROR_LIMIT, _MEMORY, _IO, _INVALID.
 * Thread-safe. An open gguf never changes: any number of threads may look into it; hybrid_gguf_read_tensor is for
 * one at a time. */
HYBRID_API hybrid_result hybrid_gguf_open(hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf,
                                          hybrid_error *error);
HYBRID_API void hybrid_gguf_destroy(hybrid_gguf *gguf);

HYBRID_API int32_t hybrid_gguf_version(const hybrid_gguf *gguf);    /* 2 or 3 */
HYBRID_API uint64_t hybrid_gguf_file_size(const hybrid_gguf *gguf); /* bytes, of all parts */
HYBRID_API size_t hybrid_gguf_part_count(const hybrid_gguf *gguf);  /* files: 1, or those of a model that was split */
HYBRID_API uint64_t hybrid_gguf_part_size(const hybrid_gguf *gguf, size_t i); /* bytes of one; 0 beyond the last */
/* of every tensor's offset: general.alignment, else 32 */
HYBRID_API uint64_t hybrid_gguf_alignment(const hybrid_gguf *gguf);

/* Keys in the order of the file: the name, and (when value is not NULL) the value. An empty name beyond the last. */
HYBRID_API size_t hybrid_gguf_key_count(const hybrid_gguf *gguf);
HYBRID_API hybrid_string hybrid_gguf_key(const hybrid_gguf *gguf, size_t i, hybrid_gguf_value *value);

/* By name, hashed. false when the key is absent or its value is of another kind (out then stays as it is: set your
 * default before).
 * i64 takes every integer and bool that fits; f64 takes every number. value may be NULL. */
HYBRID_API bool hybrid_gguf_find(const hybrid_gguf *gguf, const char *key, hybrid_gguf_value *value);
HYBRID_API bool hybrid_gguf_get_i64(const hybrid_gguf *gguf, const char *key, int64_t *out);
HYBRID_API bool hybrid_gguf_get_f64(const hybrid_gguf *gguf, const char *key, double *out);
HYBRID_API bool hybrid_gguf_get_string(const hybrid_gguf *gguf, const char *key, hybrid_string *out);

/* Item i of a value, in constant time. Zero or empty when i is out of range or the item is of another kind; i64 takes
 * integers and bools, f64 every number. Items of an array of arrays are values themselves. */
HYBRID_API hybrid_string hybrid_gguf_item_string(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API int64_t hybrid_gguf_item_i64(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API double hybrid_gguf_item_f64(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API bool hybrid_gguf_item_array(const hybrid_gguf_value *value, uint64_t i, hybrid_gguf_value *item);

/* Tensors in the order of the file, and by name (hashed); NULL when there is none. */
HYBRID_API size_t hybrid_gguf_tensor_count(const hybrid_gguf *gguf);
HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_tensor_at(const hybrid_gguf *gguf, size_t i);
HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_find_tensor(const hybrid_gguf *gguf, const char *name);

/* Copies all bytes of a tensor of this gguf to dst (tensor->size bytes). HYBRID_ERROR_IO, or _UNSUPPORTED for an
 * unknown type. */
HYBRID_API hybrid_result hybrid_gguf_read_tensor(hybrid_gguf *gguf, const hybrid_gguf_tensor *tensor, void *dst,
                                                 hybrid_error *error);

/* Writing. Collect keys and tensors, begin, give the tensors' bytes in the order in which they were added, end:
 *
 *     hybrid_gguf_writer_create(NULL, &w, &error);
 *     hybrid_gguf_set_string(w, "general.architecture", "llama", NULL);
 *     hybrid_gguf_set_int(w, "llama.block_count", HYBRID_GGUF_U32, 22, NULL);
 *     hybrid_gguf_add_tensor(w, "output.weight", HYBRID_TYPE_Q8_0, 2, ne, NULL);
 *     if (hybrid_gguf_begin_path(w, "out.gguf", &error) || hybrid_gguf_write(w, blocks, size, &error) ||
 *         hybrid_gguf_end(w, &error))
 *         puts(error.message);
 *     hybrid_gguf_writer_destroy(w);
 *
 * The first failure of a set or add is kept and given again by begin, so it is enough to look there. A writer is used
 * by one thread at a time. What is written has version 3, and the bytes depend on nothing but the calls. */
typedef struct hybrid_gguf_writer hybrid_gguf_writer;

/* runtime may be NULL. Destroying a writer that has begun a path and not ended removes the unfinished file. */
HYBRID_API hybrid_result hybrid_gguf_writer_create(hybrid_runtime *runtime, hybrid_gguf_writer **writer,
                                                   hybrid_error *error);
HYBRID_API void hybrid_gguf_writer_destroy(hybrid_gguf_writer *writer);

/* A key and its value, which are copied; an earlier value of the key is replaced in its place. HYBRID_ERROR_INVALID,
 * _LIMIT, _MEMORY.
 * set: any value, as a reader gives it or made by hand (index may be NULL). set_int: type is an integer or bool, and
 * the value fits.
 * set_float: type is F32 or F64. set_numbers: count items of a number type, packed. set_arrays: count values that
 * are arrays. */
HYBRID_API hybrid_result hybrid_gguf_set(hybrid_gguf_writer *writer, const char *key, const hybrid_gguf_value *value,
                                         hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_int(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type,
                                             int64_t value, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_float(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type,
                                               double value, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_string(hybrid_gguf_writer *writer, const char *key, const char *text,
                                                hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_numbers(hybrid_gguf_writer *writer, const char *key,
                                                 hybrid_gguf_type item_type, const void *items, size_t count,
                                                 hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_strings(hybrid_gguf_writer *writer, const char *key,
                                                 const hybrid_string *items, size_t count, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_arrays(hybrid_gguf_writer *writer, const char *key,
                                                const hybrid_gguf_value *items, size_t count, hybrid_error *error);

/* Sets every key of an open file. */
HYBRID_API hybrid_result hybrid_gguf_copy_keys(hybrid_gguf_writer *writer, const hybrid_gguf *from,
                                               hybrid_error *error);

/* Announces a tensor with n_dims (0..4) sizes ne, the contiguous one first. llama.cpp reads names of at most 63
 * bytes. */
HYBRID_API hybrid_result hybrid_gguf_add_tensor(hybrid_gguf_writer *writer, const char *name, hybrid_type type,
                                                int32_t n_dims, const uint64_t *ne, hybrid_error *error);

/* Writes everything before the tensors' data: to a callback, or to a file, which has a temporary name beside path until
 * end.
 * When writing fails, what was at path is still there. A symbolic link is followed, and stays; a file that is there
 * keeps its mode, owner and other names; a device or a pipe is written into (a pipe waits for its reader).
 * HYBRID_ERROR_IO: a folder, or a file that may not be written.
 * Where it fails before a byte went out (a bad alignment, a path that cannot be had), writing has not begun: set it
 * right and begin again. */
HYBRID_API hybrid_result hybrid_gguf_begin(hybrid_gguf_writer *writer, hybrid_write_fn write, void *user,
                                           hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_begin_path(hybrid_gguf_writer *writer, const char *path, hybrid_error *error);

/* The next n bytes of the current tensor: a whole one or a piece, not beyond its end (HYBRID_ERROR_INVALID). Padding is
 * added. Bytes that went out cannot be taken back: once a callback or a disk has refused some, every further call
 * gives the same HYBRID_ERROR_IO. */
HYBRID_API hybrid_result hybrid_gguf_write(hybrid_gguf_writer *writer, const void *data, size_t n, hybrid_error *error);

/* Checks that all tensors are complete, and gives a file its name, replacing what was there. */
HYBRID_API hybrid_result hybrid_gguf_end(hybrid_gguf_writer *writer, hybrid_error *error);
#endif
