/* ---- tokenizer: text to tokens and back ----------------------------------------------------------------------------
 *
 *     hybrid_tokenizer *tok;
 *     int32_t ids[256];
 *     size_t n;
 *     hybrid_tokenizer_from_gguf(NULL, file, &tok, &error);
 *     hybrid_tokenize(tok, "Hello", 5, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 256, &n, &error);
 *
 * Byte-level BPE, SentencePiece BPE, WordPiece (of files) and RWKV's longest match, the tokens being those of HF
 * tokenizers, tiktoken and llama.cpp. Text is any bytes: what is not UTF-8 is kept, byte by byte, by vocabularies that
 * know all bytes. A tokenizer never changes: any number of threads may use it. */
#ifndef HYB_API_TOKENIZER_H
#define HYB_API_TOKENIZER_H
#include "gguf.h"

typedef struct hybrid_tokenizer hybrid_tokenizer;

/* The numbers are those of the GGUF format. */
typedef enum hybrid_token_type {
    HYBRID_TOKEN_NORMAL = 1,
    HYBRID_TOKEN_UNKNOWN = 2, /* stands for what the vocabulary cannot say */
    HYBRID_TOKEN_CONTROL = 3, /* <s>, <|im_start|>: not text; only HYBRID_TOKENIZE_PARSE_SPECIAL finds them in a text */
    HYBRID_TOKEN_USER_DEFINED = 4, /* text that is always one token */
    HYBRID_TOKEN_UNUSED = 5,       /* never made from text */
    HYBRID_TOKEN_BYTE = 6          /* one byte of what has no other token */
} hybrid_token_type;

/* What some tokens are for. */
typedef enum hybrid_token_role {
    HYBRID_ROLE_BOS,
    HYBRID_ROLE_EOS,
    HYBRID_ROLE_EOT,
    HYBRID_ROLE_EOM,
    HYBRID_ROLE_UNKNOWN,
    HYBRID_ROLE_SEPARATOR,
    HYBRID_ROLE_PADDING,
    HYBRID_ROLE_MASK,
    HYBRID_ROLE_FIM_PREFIX,
    HYBRID_ROLE_FIM_SUFFIX,
    HYBRID_ROLE_FIM_MIDDLE,
    HYBRID_ROLE_FIM_PAD,
    HYBRID_ROLE_FIM_REPO,
    HYBRID_ROLE_FIM_SEPARATOR,
    HYBRID_ROLE_COUNT_
} hybrid_token_role;

/* A vocabulary in memory. Everything is copied. */
typedef struct hybrid_tokenizer_desc {
    const char *model; /* "bpe": byte-level BPE (also when NULL); "spm": SentencePiece BPE; "rwkv": of strings of
                          bytes the longest that fits, spelled as Python's repr() does ("\\n", "\\xff"); what no
                          token begins with is the unknown one, or nothing */
    const char *pre;   /* bpe: how text is cut into words: "gpt-2" (also when NULL), "llama-bpe", "qwen2",
                          "cl100k", "gpt-4o"..., and whether it is brought to Unicode's normalization form
                          C first, as Qwen's is: most names of tokenizer.ggml.pre in llama.cpp; the others
                          are refused */
    /* n_tokens, the text of every id as GGUF and HF spell it; an empty one is never used */
    const hybrid_string *tokens;
    size_t n_tokens;
    const uint8_t *types;        /* n_tokens, hybrid_token_type; NULL: all are normal */
    const float *scores;         /* spm: n_tokens, the highest is merged first; NULL: earlier ids first */
    const hybrid_string *merges; /* bpe: n_merges times "left right", the most important first */
    size_t n_merges;
    /* bpe: tokens are plain bytes and ids are ranks, as in tiktoken files; merges are not needed */
    bool raw_tokens;
    bool add_bos; /* what HYBRID_TOKENIZE_ADD_SPECIAL adds */
    bool add_eos;
    bool no_space_prefix; /* spm: no space before the first word */
    /* white space after special tokens belongs to them (but <s>, <unk>, <|endoftext|>): phi-3 */
    bool strip_right;
    /* text of the token that has a role; NULL: a well-known one that is there, or none */
    const char *roles[HYBRID_ROLE_COUNT_];
} hybrid_tokenizer_desc;

/* Makes a tokenizer from a vocabulary in memory, or from the tokenizer.ggml.* keys of a file (which may be closed
 * then). runtime may be NULL. What a file leaves out is taken as llama.cpp takes it, and the log says so; without
 * tokenizer.ggml.pre that is "default" (but GPT-2's and GPT-NeoX's own rules for those architectures), and a warning.
 * HYBRID_ERROR_UNSUPPORTED: a model or pre-tokenizer that hybrid does not have (Unigram...);
 * HYBRID_ERROR_FORMAT: tables that contradict each other; HYBRID_ERROR_NOT_FOUND: no vocabulary in the file;
 * HYBRID_ERROR_MEMORY, _INVALID, _LIMIT. */
HYBRID_API hybrid_result hybrid_tokenizer_create(hybrid_runtime *runtime, const hybrid_tokenizer_desc *desc,
                                                 hybrid_tokenizer **tokenizer, hybrid_error *error);
HYBRID_API hybrid_result hybrid_tokenizer_from_gguf(hybrid_runtime *runtime, const hybrid_gguf *gguf,
                                                    hybrid_tokenizer **tokenizer, hybrid_error *error);
HYBRID_API void hybrid_tokenizer_destroy(hybrid_tokenizer *tokenizer);

/* Sets the keys tokenizer.ggml.* from which hybrid_tokenizer_from_gguf makes the same tokenizer again; keys of the
 * writer that it has no words for stay. Byte-level BPE only (with merges): HYBRID_ERROR_UNSUPPORTED; _INVALID, _LIMIT,
 * _MEMORY. */
HYBRID_API hybrid_result hybrid_tokenizer_to_gguf(const hybrid_tokenizer *tokenizer, hybrid_gguf_writer *writer,
                                                  hybrid_error *error);

typedef enum hybrid_tokenizer_text {
    HYBRID_TOKENIZER_MERGES, /* GPT-2's merges.txt: a line "left right" for each merge, in their order */
    HYBRID_TOKENIZER_VOCAB   /* GPT-2's vocab.json: {"text": id, ...}, a token a line */
} hybrid_tokenizer_text;

/* The same for tools that read GPT-2's two files, HF tokenizers among them. HYBRID_ERROR_UNSUPPORTED: not byte-level
 * BPE with merges; HYBRID_ERROR_IO: write returned false; _INVALID, _MEMORY. */
HYBRID_API hybrid_result hybrid_tokenizer_write(const hybrid_tokenizer *tokenizer, hybrid_tokenizer_text what,
                                                hybrid_write_fn write, void *user, hybrid_error *error);

#define HYBRID_TOKENIZE_ADD_SPECIAL 1u /* BOS before and EOS after, where the vocabulary says so */
/* control tokens that are spelled out in the text become tokens; leave it off for text of strangers (and see
 * hybrid_tokenize_spans for a text that only some of is theirs) */
#define HYBRID_TOKENIZE_PARSE_SPECIAL 2u

/* size bytes of text to ids. *n is the number of tokens of the whole text, also when it is more than capacity: then the
 * result is HYBRID_ERROR_LIMIT, the first capacity ids are there, and nothing else is written (ids may be NULL when
 * capacity is 0).
 * 3 * size + 3 ids are always enough, size + 2 for rwkv and for bpe without normalization. The time grows
 * with the text, whatever the vocabulary. HYBRID_ERROR_MEMORY, _INVALID. Thread-safe. */
HYBRID_API hybrid_result hybrid_tokenize(const hybrid_tokenizer *tokenizer, const char *text, size_t size,
                                         unsigned flags, int32_t *ids, size_t capacity, size_t *n, hybrid_error *error);

/* hybrid_tokenize of a text with more than one author: control tokens that are spelled out become tokens where all of
 * their bytes lie in one of the n_spans spans (begin < end, in their order, apart from each other: what
 * hybrid_text.own holds), and are letters elsewhere, whatever flags says of HYBRID_TOKENIZE_PARSE_SPECIAL. User-defined
 * tokens are text and found everywhere, but those that are written as control tokens are ("<|user|>",
 * "<start_of_turn>"; files are not at one about their type) count as such here. Where no token is spelled out by a
 * stranger, the ids are those of HYBRID_TOKENIZE_PARSE_SPECIAL. Errors and sizes: as hybrid_tokenize; INVALID also:
 * spans that are none. Thread-safe. */
HYBRID_API hybrid_result hybrid_tokenize_spans(const hybrid_tokenizer *tokenizer, const char *text, size_t size,
                                               const hybrid_span *spans, size_t n_spans, unsigned flags, int32_t *ids,
                                               size_t capacity, size_t *n, hybrid_error *error);

#define HYBRID_DETOKENIZE_SPECIAL 1u /* show control and unknown tokens by their names; else they are nothing */

/* n ids to text, the space that spm put before the first word taken away again; normalized text stays so. Sizes as in
 * hybrid_tokenize; no zero is appended. HYBRID_ERROR_INVALID: an id is negative; ids beyond the vocabulary (rows that a
 * model was padded with) are nothing. Thread-safe. */
HYBRID_API hybrid_result hybrid_detokenize(const hybrid_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                           unsigned flags, char *text, size_t capacity, size_t *size,
                                           hybrid_error *error);

/* The bytes that a token stands for (a control token: its name), in constant time; perhaps not whole characters, see
 * hybrid_utf8_feed.
 * Empty for an id out of range. They live as long as the tokenizer. */
HYBRID_API hybrid_string hybrid_token_bytes(const hybrid_tokenizer *tokenizer, int32_t id);
/* HYBRID_TOKEN_UNUSED out of range */
HYBRID_API hybrid_token_type hybrid_token_kind(const hybrid_tokenizer *tokenizer, int32_t id);
/* generation ends here: EOS, <|im_end|>, <|eot_id|>... */
HYBRID_API bool hybrid_token_is_end(const hybrid_tokenizer *tokenizer, int32_t id);
/* -1: there is none */
HYBRID_API int32_t hybrid_token_role_id(const hybrid_tokenizer *tokenizer, hybrid_token_role role);
/* by its bytes; -1 */
HYBRID_API int32_t hybrid_token_find(const hybrid_tokenizer *tokenizer, const char *bytes, size_t size);
HYBRID_API int32_t hybrid_vocab_size(const hybrid_tokenizer *tokenizer); /* tokens; a model may have more rows */
HYBRID_API bool hybrid_tokenizer_adds_bos(const hybrid_tokenizer *tokenizer);
HYBRID_API bool hybrid_tokenizer_adds_eos(const hybrid_tokenizer *tokenizer);

/* ---- streams: what may be shown of text that arrives token by token ---------------------------------------------- */

/* Zero is the beginning. Holds back at most three bytes of an unfinished character. */
typedef struct hybrid_utf8_stream {
    unsigned char pending[4];
    unsigned char size;
} hybrid_utf8_stream;

#define HYBRID_UTF8_ROOM(size) (3 * (size) + 9)

/* Whole characters of what was fed so far go to out (at least HYBRID_UTF8_ROOM(size) bytes); bytes that are not UTF-8
 * become U+FFFD, one for each maximal part as Unicode recommends. However the bytes are cut, the output is the same.
 * Returns the bytes written. */
HYBRID_API size_t hybrid_utf8_feed(hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out);
/* The end: an unfinished character becomes U+FFFD. At most 9 bytes. The stream is then at its beginning. */
HYBRID_API size_t hybrid_utf8_flush(hybrid_utf8_stream *stream, char *out);

/* Looks for strings that end an answer, also where they begin in one token and end in another. One thread at a time. */
typedef struct hybrid_stop_matcher hybrid_stop_matcher;

/* n_stops strings of at least one byte, copied. With none, everything fed is given at once. runtime may be NULL. */
HYBRID_API hybrid_result hybrid_stop_matcher_create(hybrid_runtime *runtime, const hybrid_string *stops, size_t n_stops,
                                                    hybrid_stop_matcher **matcher, hybrid_error *error);
HYBRID_API void hybrid_stop_matcher_destroy(hybrid_stop_matcher *matcher);
/* Feeds bytes. *safe: what can be shown now because no stop string can begin in it (until the next call). *which: the
 * stop string that is complete (of those that end first the longest), or -1; what stood before it is in *safe, and
 * nothing more comes until reset.
 * HYBRID_ERROR_MEMORY: nothing was fed. */
HYBRID_API hybrid_result hybrid_stop_matcher_feed(hybrid_stop_matcher *matcher, const void *bytes, size_t size,
                                                  hybrid_string *safe, int32_t *which, hybrid_error *error);
/* The end came otherwise: gives what was held back. */
HYBRID_API hybrid_string hybrid_stop_matcher_flush(hybrid_stop_matcher *matcher);
HYBRID_API void hybrid_stop_matcher_reset(hybrid_stop_matcher *matcher);
#endif
