"""hybrid from Python: every public function, struct and constant of hybrid.h, by ctypes.

MADE FROM hybrid.h BY make_bindings.py: edit neither. The library is libhybrid.so beside this file, or what the
environment's HYBRID_LIBRARY names; README.md beside hybrid.h has the line that builds it.

Functions and structs are those of the header, which help(hybrid.hybrid_model_load) shows; texts are bytes. What takes a
pointer takes byref(...); None is NULL. Keep what C keeps: a callback, and memory that a struct points to, must live as
long as the header says.
"""
import os
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char, c_char_p, c_double, c_float, c_int,
                    c_int32, c_int64, c_size_t, c_ubyte, c_uint, c_uint8, c_uint32, c_uint64, c_void_p, sizeof)

HYBRID_VERSION = "0.1.0"
HYBRID_VERSION_NUMBER = 100
HYBRID_RESULT_LAST_ = 1
HYBRID_OK = 0
HYBRID_ERROR_INVALID = -1
HYBRID_ERROR_MEMORY = -2
HYBRID_ERROR_IO = -3
HYBRID_ERROR_FORMAT = -4
HYBRID_ERROR_UNSUPPORTED = -5
HYBRID_ERROR_NOT_FOUND = -6
HYBRID_ERROR_LIMIT = -7
HYBRID_ERROR_CONTEXT_FULL = -8
HYBRID_ERROR_CANCELLED = -9
HYBRID_ERROR_NUMERIC = -10
HYBRID_ERROR_DEVICE = -11
HYBRID_LOG_ERROR = 1
HYBRID_LOG_WARN = 2
HYBRID_LOG_INFO = 3
HYBRID_LOG_DEBUG = 4
HYBRID_TYPE_F32 = 0
HYBRID_TYPE_F16 = 1
HYBRID_TYPE_Q4_0 = 2
HYBRID_TYPE_Q4_1 = 3
HYBRID_TYPE_Q5_0 = 6
HYBRID_TYPE_Q5_1 = 7
HYBRID_TYPE_Q8_0 = 8
HYBRID_TYPE_Q2_K = 10
HYBRID_TYPE_Q3_K = 11
HYBRID_TYPE_Q4_K = 12
HYBRID_TYPE_Q5_K = 13
HYBRID_TYPE_Q6_K = 14
HYBRID_TYPE_IQ4_NL = 20
HYBRID_TYPE_IQ4_XS = 23
HYBRID_TYPE_BF16 = 30
HYBRID_TYPE_LAST_ = 64
HYBRID_MIX_F32 = 0
HYBRID_MIX_F16 = 1
HYBRID_MIX_Q4_0 = 2
HYBRID_MIX_Q4_1 = 3
HYBRID_MIX_Q8_0 = 7
HYBRID_MIX_Q5_0 = 8
HYBRID_MIX_Q5_1 = 9
HYBRID_MIX_Q2_K = 10
HYBRID_MIX_Q3_K_S = 11
HYBRID_MIX_Q3_K_M = 12
HYBRID_MIX_Q3_K_L = 13
HYBRID_MIX_Q4_K_S = 14
HYBRID_MIX_Q4_K_M = 15
HYBRID_MIX_Q5_K_S = 16
HYBRID_MIX_Q5_K_M = 17
HYBRID_MIX_Q6_K = 18
HYBRID_MIX_BF16 = 32
HYBRID_GGUF_MAX_KEYS = 65536
HYBRID_GGUF_MAX_TENSORS = 65536
HYBRID_GGUF_MAX_NAME = 65535
HYBRID_GGUF_MAX_METADATA = 0x40000000
HYBRID_GGUF_MAX_DEPTH = 8
HYBRID_GGUF_MAX_PARTS = 1024
HYBRID_GGUF_U8 = 0
HYBRID_GGUF_I8 = 1
HYBRID_GGUF_U16 = 2
HYBRID_GGUF_I16 = 3
HYBRID_GGUF_U32 = 4
HYBRID_GGUF_I32 = 5
HYBRID_GGUF_F32 = 6
HYBRID_GGUF_BOOL = 7
HYBRID_GGUF_STRING = 8
HYBRID_GGUF_ARRAY = 9
HYBRID_GGUF_U64 = 10
HYBRID_GGUF_I64 = 11
HYBRID_GGUF_F64 = 12
HYBRID_TOKEN_NORMAL = 1
HYBRID_TOKEN_UNKNOWN = 2
HYBRID_TOKEN_CONTROL = 3
HYBRID_TOKEN_USER_DEFINED = 4
HYBRID_TOKEN_UNUSED = 5
HYBRID_TOKEN_BYTE = 6
HYBRID_ROLE_BOS = 0
HYBRID_ROLE_EOS = 1
HYBRID_ROLE_EOT = 2
HYBRID_ROLE_EOM = 3
HYBRID_ROLE_UNKNOWN = 4
HYBRID_ROLE_SEPARATOR = 5
HYBRID_ROLE_PADDING = 6
HYBRID_ROLE_MASK = 7
HYBRID_ROLE_FIM_PREFIX = 8
HYBRID_ROLE_FIM_SUFFIX = 9
HYBRID_ROLE_FIM_MIDDLE = 10
HYBRID_ROLE_FIM_PAD = 11
HYBRID_ROLE_FIM_REPO = 12
HYBRID_ROLE_FIM_SEPARATOR = 13
HYBRID_ROLE_COUNT_ = 14
HYBRID_TOKENIZER_MERGES = 0
HYBRID_TOKENIZER_VOCAB = 1
HYBRID_TOKENIZE_ADD_SPECIAL = 1
HYBRID_TOKENIZE_PARSE_SPECIAL = 2
HYBRID_DETOKENIZE_SPECIAL = 1
HYBRID_TEMPLATE_PYTHON = 0
HYBRID_TEMPLATE_JS = 1
HYBRID_BPE_TIES_BYTES = 0
HYBRID_BPE_TIES_IDS = 1
HYBRID_DATA_TEXT = 0
HYBRID_DATA_U16 = 1
HYBRID_DATA_U32 = 2
HYBRID_DATA_CHAT = 3
HYBRID_KV_F16 = 0
HYBRID_KV_Q8_0 = 1
HYBRID_KV_F32 = 2
HYBRID_ADAPTER_MAX_RANK = 1024
HYBRID_SEQ_MAX_ADAPTERS = 8
HYBRID_POOLING_MODEL = 0
HYBRID_POOLING_MEAN = 1
HYBRID_POOLING_CLS = 2
HYBRID_POOLING_LAST = 3
HYBRID_SCHEDULE_CONSTANT = 0
HYBRID_SCHEDULE_LINEAR = 1
HYBRID_SCHEDULE_COSINE = 2
HYBRID_SCHEDULE_WSD = 3
HYBRID_OPTIMIZER_ADAMW = 0
HYBRID_OPTIMIZER_SGD = 1
HYBRID_OPTIMIZER_MUON = 2
HYBRID_PHASE_WARMUP = 0
HYBRID_PHASE_FULL = 1
HYBRID_PHASE_PREDICT = 2
HYBRID_PHASE_CORRECT = 3
HYBRID_PREDICT_NOTHING = 0
HYBRID_PREDICT_MOVED = 1
HYBRID_PREDICT_WENT_BACK = 2
HYBRID_PREDICT_AUDITED = 3
HYBRID_REDUCE_NUMBERS = 12
HYBRID_PREDICT_AUTO = 0
HYBRID_PREDICT_OFF = 1
HYBRID_PREDICT_A = 2
HYBRID_PREDICT_A2 = 3
HYBRID_PREDICT_B = 4
HYBRID_PREDICT_C = 5
HYBRID_PREDICT_D = 6
HYBRID_PLACEBO_NONE = 0
HYBRID_PLACEBO_RANDOM = 1
HYBRID_PLACEBO_MIRROR = 2
HYBRID_RULE_AUTO = 0
HYBRID_RULE_STATIC = 1
HYBRID_RULE_ADAPTIVE = 2
HYBRID_TUNE_HEALTH = 1
HYBRID_TUNE_GROUPS = 2
HYBRID_TUNE_PLATEAU = 4
HYBRID_TUNE_HORIZONS = 8
HYBRID_TUNE_BATCHES = 16
HYBRID_TUNE_ALL = 31
HYBRID_RECOVERY_GO_ON = 0
HYBRID_RECOVERY_SKIP_BATCH = 1
HYBRID_RECOVERY_SHORTEN = 2
HYBRID_RECOVERY_RAISE_THRESHOLD = 3
HYBRID_RECOVERY_FORCE_FULL = 4
HYBRID_RECOVERY_RESET_PREDICTOR = 5
HYBRID_RECOVERY_ROLL_BACK = 6
HYBRID_RECOVERY_ABORT = 7
HYBRID_RECOVERIES = 8
HYBRID_STOP_NONE = 0
HYBRID_STOP_END = 1
HYBRID_STOP_TEXT = 2
HYBRID_STOP_LIMIT = 3
HYBRID_STOP_CONTEXT = 4
HYBRID_STOP_ERROR = 5
HYBRID_STOP_BROKEN = 6
HYBRID_PIECE_ANSWER = 0
HYBRID_PIECE_THINKING = 1
HYBRID_PIECE_TOOL_CALL = 2
HYBRID_SPECULATION_DEFAULT = 0
HYBRID_SPECULATION_OFF = 1
HYBRID_SPECULATION_AUTO = 2
HYBRID_SPECULATION_ALWAYS = 3


class hybrid_error(Structure):
    """What went wrong. Pass a pointer to any fallible call, or NULL when the code is enough. Written only on failure.
    message: one sentence without control characters: what was wrong, where, and what to do. offset: byte position in
    the input, where that means something.
    hybrid_result result
    uint64_t offset
    char message[256]"""


class hybrid_allocator(Structure):
    """Memory. alloc returns NULL when there is none: every call of hybrid survives that. Blocks must be aligned for any C
    type.
    Both are called from the thread that calls hybrid, never from workers. Leave zero for malloc and free.
    void *(*alloc)(void *user, size_t size)
    void (*free)(void *user, void *block)
    void *user"""


class hybrid_logger(Structure):
    """Silent by default. message is one line without a newline, valid during the call.
    void (*log)(void *user, hybrid_log_level level, const char *message)
    void *user"""


class hybrid_reader(Structure):
    """A file that is not a path: a pak file, a download, an asset system. read_at must fill all n bytes and return true, or
    return false. close may be NULL; it is called once when the object that owns the reader ends (also when opening it
    failed).
    bool (*read_at)(void *user, uint64_t offset, void *dst, size_t n)
    void (*close)(void *user)
    uint64_t size
    void *user"""


class hybrid_span(Structure):
    """The bytes [begin, end) of a text.
    size_t begin, end"""


class hybrid_source(Structure):
    """Where bytes come from: exactly one of the four. Zero-terminated UTF-8 path, memory that outlives the object, a
    reader, or (where a model is asked for) the parts of a file that was split, each a source of its own, in any
    order. The list itself need not outlive the call.
    const char *path
    const void *data
    size_t size: of data
    hybrid_reader reader
    const struct hybrid_source *parts
    size_t n_parts"""


class hybrid_runtime(Structure):
    """A handle: its members are the library's."""


class hybrid_kernel_cache(Structure):
    """Where kernels that were compiled for a GPU are kept, so that the next start is fast. Zero: files in the user's cache
    folder (HYBRID_CUDA_CACHE, else XDG_CACHE_HOME/hybrid, ~/.cache/hybrid or %LOCALAPPDATA%\\hybrid); one that cannot
    be written is not an error.
    const char *path: a folder instead; "" for no cache
    size_t (*load)(void *user, const char *key, void *data, size_t capacity): The host's own store instead, for instance one that a game ships with. load fills up to capacity bytes and
    returns the size of the whole entry, 0 when there is none. key is a file name. Called from any thread that
    uses hybrid.
    void (*store)(void *user, const char *key, const void *data, size_t size)
    void *user"""


class hybrid_runtime_desc(Structure):
    """hybrid_allocator allocator
    hybrid_logger logger
    /* threads that compute, the caller's included
    0: the number of physical cores, at most 16 */ int32_t n_threads
    void (*parallel_for)(void *user, int32_t n, hybrid_task_fn fn, void *arg): The host's job system instead of own threads: must run fn(arg, i) for all i in 0..n-1 and return when all are
    done.
    It may run them all on the calling thread. Own threads are then never started.
    void *parallel_user
    const char *isa: NULL: the best that this CPU has; "generic", "avx2", "avxvnni", "avx512", "neon": at most that;
    a better one than this processor has, or one of another kind of processor, limits nothing
    /* The GPU
    needs hybrid_cuda.h. NULL: the environment's HYBRID_DEVICE, else "auto": a GPU when there is one, else * the CPU, with the reason in the log. "cpu": none. "cuda", "cuda:1": this one
    creating the runtime fails when * it cannot be used. */ const char *device
    /* of GPU memory, over all models and contexts of the runtime
    0: what is free */ uint64_t max_device_bytes
    hybrid_kernel_cache kernel_cache"""


class hybrid_device_info(Structure):
    """char id[16]: "cuda:0": for hybrid_runtime_desc.device
    char name[96]: "NVIDIA H200"
    uint64_t total_bytes, free_bytes
    int32_t capability: CUDA: 10 * major + minor"""


class hybrid_mix_model(Structure):
    """What the mixes ask of a model: GGUF's keys of the same names.
    const char *architecture: "llama"
    int32_t n_layer: block_count
    int32_t n_expert: 0 or 1: none
    int32_t n_head, n_head_kv
    bool tied_output: there is no tensor "output.weight": the token embedding makes the logits
    /* n_layer, where the key is an array (0: no attention in this layer)
    NULL: it is not one */ const int32_t *n_head_kv_of"""


class hybrid_string(Structure):
    """Bytes of a file: not zero-terminated, not necessarily UTF-8. They live as long as the object that gave them.
    const char *data
    size_t size"""


class hybrid_gguf_value(Structure):
    """The value of a key. A number or string looks like an array of one item, so that hybrid_gguf_item_... read it at index
    0.
    data is as in the file: little-endian, unaligned; for one string its characters; for an array its items one after
    another (strings with a u64 of their size before them, arrays with a u32 of their item type and a u64 of their
    count).
    hybrid_gguf_type type
    hybrid_gguf_type item_type: of the items of an array, else type
    uint64_t count: of the items of an array, else 1
    const void *data
    uint64_t size: bytes at data
    const uint32_t *index: private: where the strings or arrays of an array begin; NULL in values of your own"""


class hybrid_gguf_tensor(Structure):
    """A tensor. ne[0] is the contiguous dimension; unused dimensions are 1; one of 0 elements has no bytes. A type that
    hybrid does not know keeps its number in type_id;
    type is then HYBRID_TYPE_LAST_ and size 0: the file can be looked at, the tensor cannot be read.
    hybrid_string name
    hybrid_type type
    uint32_t type_id
    int32_t n_dims: 0..4
    uint64_t ne[4]
    uint64_t offset: of the first byte in the file
    uint64_t size: bytes
    const void *data: when the file is mapped or in memory, else NULL: hybrid_gguf_read_tensor
    uint32_t part: which file that is, of a model that was split; else 0"""


class hybrid_gguf(Structure):
    """A handle: its members are the library's."""


class hybrid_gguf_writer(Structure):
    """Writing. Collect keys and tensors, begin, give the tensors' bytes in the order in which they were added, end:

        hybrid_gguf_writer_create(NULL, &w, &error);
        hybrid_gguf_set_string(w, "general.architecture", "llama", NULL);
        hybrid_gguf_set_int(w, "llama.block_count", HYBRID_GGUF_U32, 22, NULL);
        hybrid_gguf_add_tensor(w, "output.weight", HYBRID_TYPE_Q8_0, 2, ne, NULL);
        if (hybrid_gguf_begin_path(w, "out.gguf", &error) || hybrid_gguf_write(w, blocks, size, &error) ||
            hybrid_gguf_end(w, &error))
            puts(error.message);
        hybrid_gguf_writer_destroy(w);

    The first failure of a set or add is kept and given again by begin, so it is enough to look there. A writer is used
    by one thread at a time. What is written has version 3, and the bytes depend on nothing but the calls.
    A handle: its members are the library's."""


class hybrid_tokenizer(Structure):
    """A handle: its members are the library's."""


class hybrid_tokenizer_desc(Structure):
    """A vocabulary in memory. Everything is copied.
    const char *model: "bpe": byte-level BPE (also when NULL); "spm": SentencePiece BPE; "rwkv": of strings of
                              bytes the longest that fits, spelled as Python's repr() does ("\\\\n", "\\\\xff"); what no
                              token begins with is the unknown one, or nothing
    const char *pre: bpe: how text is cut into words: "gpt-2" (also when NULL), "llama-bpe", "qwen2",
                              "cl100k", "gpt-4o"..., and whether it is brought to Unicode's normalization form
                              C first, as Qwen's is: most names of tokenizer.ggml.pre in llama.cpp; the others
                              are refused
    /* n_tokens, the text of every id as GGUF and HF spell it
    an empty one is never used */ const hybrid_string *tokens
    size_t n_tokens
    const uint8_t *types: n_tokens, hybrid_token_type; NULL: all are normal
    const float *scores: spm: n_tokens, the highest is merged first; NULL: earlier ids first
    const hybrid_string *merges: bpe: n_merges times "left right", the most important first
    size_t n_merges
    /* bpe: tokens are plain bytes and ids are ranks, as in tiktoken files
    merges are not needed */ bool raw_tokens
    bool add_bos: what HYBRID_TOKENIZE_ADD_SPECIAL adds
    bool add_eos
    bool no_space_prefix: spm: no space before the first word
    bool strip_right: white space after special tokens belongs to them (but <s>, <unk>, <|endoftext|>): phi-3
    /* text of the token that has a role
    NULL: a well-known one that is there, or none */ const char *roles[HYBRID_ROLE_COUNT_]"""


class hybrid_utf8_stream(Structure):
    """Zero is the beginning. Holds back at most three bytes of an unfinished character.
    unsigned char pending[4]
    unsigned char size"""


class hybrid_stop_matcher(Structure):
    """Looks for strings that end an answer, also where they begin in one token and end in another. One thread at a time.
    A handle: its members are the library's."""


class hybrid_text(Structure):
    """Text that hybrid makes for you. Start with zero; use it for as many calls as you like, its memory is used again; end
    with hybrid_text_free. data: size bytes and a zero byte (NULL until something was written). After a failure it is
    empty.
    char *data
    size_t size
    size_t capacity: yours to read only, like runtime: where the memory is from
    hybrid_runtime *runtime
    hybrid_span *own: n_own, in their order and apart from each other: the words of the template itself
    size_t n_own, own_capacity"""


class hybrid_template(Structure):
    """A handle: its members are the library's."""


class hybrid_template_desc(Structure):
    """const char *text: the template, UTF-8, at most 16 MB; NULL: HYBRID_TEMPLATE_CHATML. It is copied.
    size_t size: bytes; 0: text ends with a zero byte
    hybrid_template_dialect dialect
    bool no_trim_blocks: keep the line break after a {% tag %} (chat templates are written for its removal)
    bool no_lstrip_blocks: keep the blanks before a {% tag %} that begins a line"""


class hybrid_template_limits(Structure):
    """What one rendering may use; beyond it the result is HYBRID_ERROR_LIMIT. 0 stands for the number in brackets.
    size_t max_memory: bytes of all values together [256 MB]
    size_t max_output: bytes [64 MB]
    uint64_t max_steps: about one a node that is computed, and one per 16 bytes that are moved [100 million: some seconds]
    int32_t max_depth: of nested blocks, calls and values [500]; at most 10000; besides, nothing that a
                          template does takes more than 64 KB of the thread's stack, which is measured: then the result is
                          LIMIT too"""


class hybrid_render_desc(Structure):
    """const char *context: a JSON object: the variables of the template; NULL: none
    size_t context_size: bytes; 0: context ends with a zero byte
    int64_t now: for strftime_now: seconds since 1970 UTC; 0: the system's clock
    int32_t utc_offset: minutes that local time is ahead of UTC: 120 for UTC+2
    hybrid_template_limits limits"""


class hybrid_chat_message(Structure):
    """One turn. Zero-terminated UTF-8; role is "system", "user", "assistant", "tool" or what else the model knows.
    content may be NULL: none.
    const char *role, *content"""


class hybrid_chat_desc(Structure):
    """bool add_generation_prompt: end with what opens the assistant's turn
    bool merge_system: where a template refuses or drops a system message: put it before the first user message
                              (text, newline, text) instead of failing or losing it. Transformers does not do this.
    const char *bos_token, *eos_token: the model's; NULL: undefined in the template
    const char *messages: a JSON array of objects, used instead of the array: tool calls, parts, reasoning...
    const char *tools: a JSON array of tool definitions; NULL: None
    const char *extra: a JSON object with more variables: {"enable_thinking": false}; they win over all others
    int64_t now: as in hybrid_render_desc
    int32_t utc_offset
    hybrid_template_limits limits
    const char *unk_token, *sep_token, *pad_token, *cls_token, *mask_token: as bos_token"""


class hybrid_grammar(Structure):
    """A grammar says which texts are allowed; a matcher follows a text byte by byte and knows what may come next. So a
    model that is asked only for tokens that the matcher allows writes a text of that form, whatever its weights say.

        hybrid_grammar_create(NULL, &(hybrid_grammar_desc){ .gbnf = "root ::= (\\"yes\\" | \\"no\\") \\"!\\"" }, &grammar,
    &err); hybrid_matcher_create(grammar, NULL, &matcher, &err); hybrid_matcher_accept(matcher, "yes", 3, &err);
        hybrid_matcher_can_end(matcher); // false: the exclamation mark is missing

    Grammars are foreign text, as templates are: whatever they say, the worst is an error. Nothing recurses, and all
    memory has a limit.
    A handle: its members are the library's."""


class hybrid_grammar_desc(Structure):
    """Exactly one of gbnf and schema. What the fields point to is copied.
    /* GBNF, the notation of llama.cpp: rules `name ::= ...` in any order, the first to be matched is `root`
    "text" and * [a-z] [^a-z] with the escapes \\n \\r \\t \\\\ \\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH
    `.` (any character), groups in * brackets, | * + ? {m} {m,} {m,n}, and comments from # to the end of the line. A rule that begins with itself * (left recursion) is refused. */ const char *gbnf
    size_t gbnf_size: bytes; 0: gbnf ends with a zero byte
    /* JSON Schema (drafts 7 and 2020-12): the texts are the values that fit it, each written in one way only: * - no space but one that may follow a comma or a colon
    no line ends
    * - members in the order of `properties` (of a $ref, allOf... in the order in which they are met), then what is * `required` besides, then others with any names
    what is not required may be left out
    * - characters as themselves, but \\" \\\\ \\b \\f \\n \\r \\t and \\u00xx (small letters) for those that must * not be
    * - whole numbers without a point (at most 18 digits
    -0 is 0), others with one (at most 15), both exactly as * bounds see them
    with an exponent of at most 2 digits where nothing bounds them
    those of enum and const * with all their digits. A "number" may be whole and have zeros after a point. * Read are: type, enum, const, properties, required, additionalProperties, patternProperties, propertyNames, * min/maxProperties, items, prefixItems, additionalItems, min/maxItems, min/maxLength, pattern (ECMAScript without * looking around, back references, \\b and \\p), format (date, date-time, time, email, ipv4, uuid: it always * constrains, and is narrower than its standard: no leap seconds, T and Z in capitals, no quotes in addresses), * minimum, maximum, exclusiveMinimum/Maximum, multipleOf (whole numbers from 1 to 4096), $ref inside of the schema, * with recursion, allOf, anyOf, oneOf, not, if/then/else, dependentRequired, dependentSchemas, dependencies
    and * what only describes. Any other keyword, and one of these where it cannot be kept (a `not` of lists, say), is * refused by name (UNSUPPORTED): nothing is ignored. $schema tells the draft
    without it, it is 2020-12. */ const char *schema
    size_t schema_size: bytes; 0: schema ends with a zero byte
    /* The grammar begins in the middle of the text ("<tool_call>\\n"): right after the place where these bytes occur for * the first time, which may be in the middle of a token. Until then the text is free, may end, and may have control * tokens, whose names count as its bytes
    when they never occur it is free to its end. 1 to 255 bytes, zero- * terminated
    NULL: the grammar is of the whole text. */ const char *trigger"""


class hybrid_matcher(Structure):
    """A handle: its members are the library's."""


class hybrid_lexicon(Structure):
    """What masks need to know of a vocabulary: the bytes of all tokens. Made once for each tokenizer (140 ms for 152,000
    tokens), of which it keeps nothing; used by any number of matchers, which it must outlive. It does not change:
    several threads may use it at a time. hybrid_plan does not know of it. With pointers of 64 bits it takes 68 to 93
    bytes for each token, and up to 148 while it is made. Measured:

        tokens     bytes                                    tokens     bytes
         32,000     2,163,209   Llama 2                    151,669    13,240,421   Qwen 2
         49,152     3,731,803   SmolLM2                    262,144    24,439,734   Gemma 3

    A session makes one for itself when it gets its first grammar. Errors: LIMIT (a token of more than 65,535 bytes),
    MEMORY, INVALID.
    A handle: its members are the library's."""


class hybrid_bpe_desc(Structure):
    """const hybrid_source *texts: Paths, memory or readers, each of one or more documents. Files are read, not mapped. Readers are closed when the
    call returns. Text is any bytes.
    size_t n_texts
    int32_t vocab_size: special tokens, 256 bytes, and what is merged; 0: 8192
    /* Zero-terminated UTF-8, at least two bytes: control tokens, with the ids from 0 on. Each ends a document wherever * it stands in a text: nothing is merged across it, and it is not counted. NULL: "<|endoftext|>"
    none: not NULL, * and n_specials 0. A name that could also be the spelling of other bytes ("\\xC4\\xA0t": a space and t) is * refused. */ const char *const *specials
    size_t n_specials
    const char *bos, *eos: which of them; NULL: the first one for both
    bool add_bos: HYBRID_TOKENIZE_ADD_SPECIAL of the tokenizer puts bos in front
    const char *pre: how texts are cut into words, as in hybrid_tokenizer_desc; NULL: "gpt-2"
    uint64_t min_frequency: pairs that come less often are not merged; 0: 1
    size_t max_token_bytes: no longer tokens are made; 0: any
    hybrid_bpe_ties ties
    uint64_t max_bytes: of memory, the tokenizer itself not counted: more is HYBRID_ERROR_LIMIT; 0: any
    hybrid_progress_fn progress: at least every 4 MiB of text and every 1024 merges; may be NULL
    void *user: of progress"""


class hybrid_bpe_info(Structure):
    """What was found.
    uint64_t n_documents, n_bytes: of the texts, special tokens not counted
    uint64_t n_words, n_different: words that the texts were cut into, and how many of them differ
    int32_t n_tokens, n_merges: of the vocabulary: fewer than asked for where no pair was left
    uint64_t last_frequency: how often the last pair that was merged came; 0: none was merged
    uint64_t peak_bytes: of memory, the tokenizer itself not counted"""


class hybrid_data(Structure):
    """A handle: its members are the library's."""


class hybrid_data_desc(Structure):
    """hybrid_data_kind kind
    /* Paths, memory or readers. Nothing is mapped: a file that gets shorter is an error of the call that notices. * Token files and readers stay open
    memory with tokens outlives the data. A reader is closed once, at the latest * by hybrid_data_destroy, or when creating fails. */ const hybrid_source *sources
    size_t n_sources
    const hybrid_tokenizer *tokenizer: text and conversations; used by hybrid_data_create alone
    const hybrid_template *tmpl: conversations: hybrid_model_template; used by hybrid_data_create alone
    int32_t n_ctx: tokens of a window; 0: 256
    int32_t n_vocab: ids from there on are an error; 0: those of the tokenizer, or any without one
    const int32_t *separator: tokens: the one that ends a document; NULL: the tokenizer's EOS, or none without one
    uint64_t header: tokens: bytes before the first one of every source (1024 in those of llm.c)
    /* Names of control tokens become tokens: in a text everywhere
    in messages, too, where they are letters otherwise * (those of the template are tokens always). In the words of strangers they should stay letters. */ bool parse_special
    bool across: Windows run over the borders of documents, so that few are filled up, and tokens see documents that have nothing
    to do with theirs. Not of conversations.
    bool in_order: windows come as they stand in the sources, the same in every epoch
    uint64_t seed
    float validation: The part of the targets, from the end, that is for validation: whole documents, but where no border is near (by
    half of the part), a document is cut.
    bool (*bad_line)(void *user, size_t source, uint64_t line, const char *why): Conversations: told of every line that cannot be used, counted from 1: true leaves it out, false (and NULL) ends
    the call with that sentence.
    hybrid_progress_fn progress: creating; may be NULL
    void *user: of both
    uint64_t max_bytes: of memory: more is HYBRID_ERROR_LIMIT; 0: any"""


class hybrid_data_info(Structure):
    """uint64_t n_documents: or conversations; those with no target do not count
    uint64_t n_tokens: of all of them
    uint64_t n_bad: lines that were left out
    uint64_t n_windows, n_targets: of an epoch
    uint64_t n_validation_windows, n_validation_targets: of validation
    uint64_t bytes: of memory that the data holds
    int32_t n_ctx"""


class hybrid_data_position(Structure):
    """Where the next batch begins: what a checkpoint keeps. Zero is the beginning.
    uint64_t epoch, index: index: windows of this epoch that were given"""


class hybrid_model(Structure):
    """A handle: its members are the library's."""


class hybrid_model_desc(Structure):
    """/* The GGUF file: its path (UTF-8), or another source: data (must outlive the model
    used in place, when its address * is a multiple of 8), a reader, or parts: all files of a model that was split, in any order (hybrid_gguf_open). Of * files that lie beside each other under their names, "NAME-00001-of-00003.gguf", the path of one is enough. * Exactly one of them
    path and source.path are the same. */ const char *path
    hybrid_source source
    /* A path is mapped and its pages are shared with other processes (the file must stay as it is while the model * lives)
    true reads it into memory instead. A reader is always read. * Loading then takes as long as reading does. On Linux the copy lies in pages of 2 MB, where the system has them, * and a token takes a tenth less time (measured with 800 MB of weights). */ bool no_map
    bool trainable: True keeps all weights as F32 in own memory (4 bytes a value, whatever the file's types), so that a trainer can
    change them (hybrid_trainer_create): all of them on the GPU, where one computes and has room, or on the host.
    /* Called now and then while loading
    fraction 0..1. Return false to cancel (HYBRID_ERROR_CANCELLED). */ hybrid_progress_fn progress
    void *progress_user
    /* With a GPU: room for contexts of so many positions in all is kept beside the weights
    0: as * hybrid_context_desc.n_ctx. Layers that then do not fit run on the CPU. */ int32_t device_n_ctx
    /* Generation is faster with the matrices laid out in another order, where the processor rather than the memory is * the limit (AVX2
    Q4_0, Q4_K). * True makes such a copy while loading, beside the file's own blocks, which prompts go on reading: as many bytes * again for the matrices of these types that run on the CPU, without those of experts
    hybrid_plan counts them. * Results are the same to the bit. Where the kernels have no such layout nothing is made, and the log says so. */ bool repack"""


class hybrid_model_info(Structure):
    """char architecture[32]: "llama", "qwen2", ...
    char name[64]: general.name, cut to fit, without control characters
    uint64_t n_params: values in all tensors
    uint64_t n_bytes: their bytes
    uint64_t repacked_bytes: of the copy that hybrid_model_desc.repack asked for
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff
    /* of a mixture of experts: how many a layer has, and how many a token uses
    0: none */ int32_t n_expert, n_expert_used
    bool is_recurrent: carries a state from token to token: see hybrid_seq_back
    bool is_encoder: looks at later tokens, too: for hybrid_embed; it writes no text
    bool has_template: carries a chat template, or has the tokens of ChatML; false with HYBRID_NO_TEXT
    char device[96]: "NVIDIA H200": the GPU that holds weights; "" for none
    int32_t n_layer_device: layers that run there
    uint64_t device_bytes: of weights there"""


class hybrid_context(Structure):
    """A handle: its members are the library's."""


class hybrid_context_desc(Structure):
    """int32_t n_ctx: positions, over all sequences; 0: the model's, at most 4096. More for each than it
    was trained on is a warning in the log
    int32_t n_seq: sequences: ids 0..n_seq-1; 0: 1
    int32_t n_batch: tokens that go through a layer together; 0: 512. More is not faster, fewer save memory
    int32_t n_logits: rows of logits that one decode can keep; 0: n_seq
    hybrid_kv kv
    int32_t n_candidates: with a GPU: of each row only the n_candidates (at most 256) largest logits come to the host
    at once, which is what hybrid_sample_next may need; hybrid_logits fetches the others when
    it is called. 0: all logits, always
    int32_t adapter_rank: rows for adapters up to this rank are taken at once; 0: when one is first worn
    hybrid_trace_fn trace: proves parity with other implementations, layer by layer
    void *trace_user"""


class hybrid_memory_plan(Structure):
    """uint64_t mapped: bytes of the file used in place: shared, and dropped by the system under pressure
    uint64_t weights: bytes of weights in own memory
    uint64_t model: bytes of everything else that a loaded model keeps: keys, tokenizer, template
    uint64_t kv: bytes of the KV cache
    uint64_t compute: bytes of activations, logits and scratch
    uint64_t total: weights + model + kv + compute: what hybrid allocates of the host's memory
    uint64_t device_weights, device_kv, device_compute: bytes of the GPU's memory
    uint64_t device: their sum
    int32_t n_layer_device: layers that run on the GPU"""


class hybrid_adapter(Structure):
    """A handle: its members are the library's."""


class hybrid_adapter_desc(Structure):
    """Zero is a sensible default for every field.
    int32_t rank: of every pair A, B; 0: 8; at most HYBRID_ADAPTER_MAX_RANK
    float alpha: scale is alpha / rank; 0: rank, so that scale is 1
    /* Which matrices of the layers: "attn_q" stands for blk.0.attn_q.weight, blk.1.attn_q.weight, ...
    "all" for every * matrix of the layers, routers of experts aside. Each name must find one at least. A matrix that holds several * (attn_qkv, or gate and up in ffn_up) counts as one. Those of all experts (ffn_gate_exps, ffn_up_exps, * ffn_down_exps) get an A and a B for each expert: of rank 8 the three of Qwen3-30B-A3B have 415 million values. * NULL: attn_q and attn_v (or attn_qkv, where they are one), of RWKV time_mix_receptance and time_mix_value. * Embeddings and heads cannot be changed. */ const char *const *targets
    size_t n_targets
    uint64_t seed: the same seed gives the same A, on every machine"""


class hybrid_adapter_info(Structure):
    """int32_t rank: the largest of its pairs'
    float alpha
    size_t n_matrices: that it changes
    uint64_t n_params: values in all A and B
    uint64_t bytes: in memory, the copy that sequences read included
    uint64_t device_bytes: on the GPU as well, where the model is on one"""


class hybrid_sampler(Structure):
    """A handle: its members are the library's."""


class hybrid_logit_bias(Structure):
    """Added to the logit of a token. -INFINITY forbids it; INFINITY forces it (of several forced ones, the lowest id).
    int32_t id
    float bias"""


class hybrid_sampler_desc(Structure):
    """Zero is greedy: always the likeliest token (of equals the lowest id). The fields stand in the order in which they are
    applied.
    "The likeliest" below: in order of falling logit, equals by rising id.
    float repetition_penalty: Penalties, over the last penalty_last_n accepted tokens (prompt tokens that you accept included). Each is applied
    once per distinct token: a logit l of a token that occurs c times becomes (l > 0 ? l / repetition : l *
    repetition) - c * frequency - presence.
    What leaves the range of floats by that is computed in a wider one: extreme settings and logits still choose
    by the true order. > 0; 0 and 1: none. Usual: 1.05 to 1.3
    float frequency_penalty: 0: none; negative encourages
    float presence_penalty: 0: none; negative encourages
    int32_t penalty_last_n: 0: 64
    /* DRY, "don't repeat yourself" (p-e-w, text-generation-webui pull request 5677
    llama.cpp 9702): where the last * tokens, n of them, are what stood somewhere before, with n >= dry_allowed_length, the logit of the token that * came next there is lowered by dry_multiplier * dry_base^(n - dry_allowed_length)
    the longest n counts, and at * most 1e30. A repetition ends at a breaker, which is never penalized itself: without any, the turns of a template * count as repetitions. See hybrid_tokens_with. */ float dry_multiplier: 0: none. Usual: 0.8
    float dry_base: 1 to 1e6; 0: 1.75
    int32_t dry_allowed_length: 0: 2
    int32_t dry_last_n: the last accepted tokens that are looked at; 0: 1024
    const int32_t *dry_breakers: ids; copied
    size_t n_dry_breakers
    const hybrid_logit_bias *bias: copied; ids that are not in the vocabulary have no effect
    size_t n_bias
    hybrid_sampler_function function: Called for every token, with the n_function likeliest ones and their logits as they are by now. All others are
    out. NULL: none
    void *function_user
    int32_t n_function: at most 2048; 0: 256
    float temperature: logits are divided by it. 0: greedy, and nothing below matters
    /* Dynamic temperature (Zhu and others, arXiv 2309.02772, "EDT"
    llama.cpp 4972): with H the entropy at temperature * 1 of the n tokens that are not excluded, it is low + (high - low) * (H / ln n)^temperature_exponent, low and high * being temperature -/+ temperature_range, low at least 0. 0: none */ float temperature_range
    float temperature_exponent: 0: 1
    float top_n_sigma: only those at most top_n_sigma deviations of all logits below the best (Tang and others, arXiv
    2411.07641); 0: all. Usual: 1
    int32_t top_k: of those only the top_k likeliest; 0: all
    float top_p: of those the fewest likeliest whose probabilities sum to top_p or more; 0 and 1: all
    float min_p: of those the ones that are at least min_p times as probable as the best; 0: all
    /* of those the fewest most typical (information nearest to the entropy) that sum to typical_p
    0 and 1: all */ float typical_p
    /* XTC, "exclude top choices" (p-e-w, text-generation-webui pull request 6335
    llama.cpp 9742): of those, with a * chance of xtc_probability for each token, all that are at least xtc_threshold probable are dropped but for the * least probable of them. */ float xtc_probability: 0: never
    float xtc_threshold: 0 to 1; 0: 0.1. Above 0.5 nothing is ever dropped
    int32_t mirostat: Mirostat (Basu and others, arXiv 2007.14966): keeps the surprise of the tokens, -log2 of their probability, near
    mirostat_tau bits. A bound mu (first 2 tau) falls by mirostat_eta times what a token that was drawn and accepted
    surprised above tau. 2: tokens that would surprise above mu are dropped (one stays). 1: as many of the likeliest
    stay as mu allows where probabilities fall as in Zipf's law, with the exponent of the 100 likeliest ones and the
    size of the vocabulary. Usually alone, with a temperature. 0: none, 1, 2
    float mirostat_tau: 0: 5
    float mirostat_eta: 0: 0.1
    uint64_t seed: the same seed gives the same tokens, on every machine; 0 is a seed like any other"""


class hybrid_score_desc(Structure):
    """A prompt, and texts that may follow it: as texts (zero-terminated), or as tokens.
    const char *prompt: NULL or "": a text begins, after the vocabulary's BOS
    const char *const *texts
    size_t n_texts
    bool special: control tokens that are spelled out become tokens: for a prompt of a chat template; off for text of
                         strangers
    const int32_t *prompt_ids: Without texts: n_texts times n_text_ids[i] tokens, one at least, after n_prompt_ids tokens, one at least.
    size_t n_prompt_ids
    const int32_t *const *text_ids
    const size_t *n_text_ids"""


class hybrid_score_info(Structure):
    """How likely a text is after the prompt: the logarithm of its probability, in nats (natural logarithm; never above 0).
    float *each: set it before the call: room for n_room values, or NULL. One for each token of the text, in
    their order: ln of its probability, given the prompt and the tokens before it
    size_t n_room: of a longer text the first n_room are written
    double sum: of all tokens: ln of the probability of the whole text. The longer a text, the lower:
    double mean: sum / n_tokens: compares texts of different lengths; exp(-mean) is the perplexity
    size_t n_tokens: tokens that were counted
    size_t n_best: of those, the ones that the model finds likeliest where they stand: all of them when it would
    have said the text itself"""


class hybrid_embed_desc(Structure):
    """Zero is a sensible default for every field but the texts.
    const char *const *texts: n_texts, zero-terminated; with the special tokens that the vocabulary adds
    size_t n_texts
    const int32_t *const *ids: Without texts: n_texts times n_ids[i] tokens, one at least.
    const size_t *n_ids
    hybrid_pooling pooling
    bool raw: vectors keep their length
    bool truncate: a text that is too long loses tokens at its end (not the special one there); false: it is refused
    hybrid_progress_fn progress: after each of the batches that texts are put into; false ends the call; may be NULL
    void *progress_user"""


class hybrid_model_shape(Structure):
    """Zero is a sensible default for every field but the tokenizer.
    /* "gpt2": learned positions, LayerNorm, biases, GELU (Radford et al. 2019)
    "llama": rotations, RMSNorm, SwiGLU * (Touvron et al. 2023)
    NULL: "gpt2" */ const char *architecture
    const char *name: general.name of the model's file; NULL: "model"
    #ifndef HYBRID_NO_TEXT const hybrid_tokenizer *tokenizer: byte-level BPE, as hybrid_bpe_train makes it; copied
    #endif int32_t n_vocab: tokens, at least the tokenizer's; 0: those, rounded up to a multiple of 64. What the tokenizer
    lacks is named [PAD<id>] in the model's file, unused, for programs that want a name for all
    int32_t n_ctx: positions; 0: 256
    int32_t n_embd: width; 0: 384
    int32_t n_layer: 0: 6
    int32_t n_head: heads of n_embd / n_head values; 0: n_embd / 64, at least 1
    int32_t n_head_kv: llama: heads of keys and values, a divisor of n_head; 0: n_head
    int32_t n_ff: width of the feed-forward; 0: gpt2 4 n_embd, llama 8/3 n_embd rounded up to a multiple of 64
    bool untied_head: llama: a head of its own; else it is the embedding
    uint64_t seed: the same seed gives the same weights, on every machine"""


class hybrid_trainable_param(Structure):
    """A matrix (rows, cols), row by row, or a vector, at `at` of the weights and of the gradients.
    const char *name: in checkpoints: 1 to 48 bytes, no two alike
    size_t at: floats from the beginning
    int64_t rows, cols: rows 0 or 1: a vector of cols values
    bool is_table: of embeddings, or what makes logits: HYBRID_OPTIMIZER_MUON leaves it to AdamW"""


class hybrid_trainable(Structure):
    """Zero it; params, weights and gradients are needed. It is copied, the table of parameters with it.
    hybrid_runtime *runtime: NULL: the default one
    const char *name: of the kind of model, in checkpoints: one of another is refused; NULL: "own"
    const hybrid_trainable_param *params: no two have a value in common
    int32_t n_params
    float *weights: (n_weights) the caller's, which outlive the trainer; they change at the end of a step
    size_t n_weights
    void *user
    /* The examples of a batch
    the loss of a step is their mean. NULL: 1 for each batch. Less than 1 is refused. */ int64_t (*count)(void *user, const void *batch)
    /* *loss: the sum of the losses of the batch's examples, by the weights of now. grads NULL: no more is asked for
    * else the gradient of that sum, times factor, is added to grads (n_weights, laid out as the weights). false: it * failed, and the step is given up (HYBRID_ERROR_CANCELLED). May not call the trainer. */ bool (*gradients)(void *user, const void *batch, double factor, float *grads, double *loss)"""


class hybrid_trainer(Structure):
    """A handle: its members are the library's."""


class hybrid_trainer_desc(Structure):
    """Zero is a sensible default for every field but model, adapter and own: exactly one of the three is set.
    hybrid_model *model: loaded with hybrid_model_desc.trainable; outlives the trainer. Its weights are changed in
    place: contexts of the model run what has been trained so far, between two steps
    hybrid_adapter *adapter: what is trained is this adapter of the model (model may be NULL then), and the model's
    weights stay as they are: in any type, mapped from a file, which need not be trainable.
    It outlives the trainer; sequences that wear it run what has been trained so far. The
    passes run on a GPU that has all of the model, if there is room, with weights decoded to
    floats; else on the host (the log says why), with the very products that run there:
    those of block types on integers
    const hybrid_trainable *own: what is trained is somebody else's model; n_seq, n_ctx and recompute_every are not
    looked at
    int32_t n_seq: sequences of a batch; 0: 4
    int32_t n_ctx: tokens of each; 0: as the model was trained for, at most 256
    int32_t n_batches: batches of a step, whose gradients are added up: the same step as with n_batches * n_seq
    sequences, in the memory of n_seq; 0: 1
    int32_t recompute_every: layers of which only the last one's output is kept for the way back, on which they run
    forward again: less memory, the same bits, a tenth to a fifth more time. 1: each layer
    by itself, the least memory for up to some dozens of layers; 0: all is kept
    hybrid_type format: the type to which the operands of products (rows, gradients, weights) are rounded before they
    are multiplied: HYBRID_TYPE_F32 (0), they are not; HYBRID_TYPE_BF16, HYBRID_TYPE_F16; see
    hybrid_trainer_set_format
    hybrid_optimizer optimizer
    float rate: learning rate; 0: 3e-4, of SGD 0.01
    float beta1, beta2: of AdamW; 0: 0.9 and 0.95
    float eps: of AdamW; 0: 1e-8
    float momentum: of SGD; 0: none. Of Muon; 0: 0.95
    bool nesterov: SGD: the step looks ahead, g + momentum m. Muon always does
    float muon_rate: learning rate of Muon's matrices at the time when the others have `rate`, with which it goes
    up and down; 0: 0.02
    float decay: weight decay of matrices, decoupled whatever the optimizer: w = w - rate decay w
    bool decay_vectors: of norms and biases as well
    float clip: largest norm of all gradients together; what is longer is shortened to it; 0: any
    float ema: e.g. 0.999: an average of the weights is kept, of which each step replaces 1 - ema by the
    weights of now; see hybrid_trainer_swap_ema; 0: none
    hybrid_schedule schedule
    int64_t n_warmup, n_decay, n_steps: steps
    float rate_end: learning rate at the end of the schedule
    size_t max_bytes: that a trainer may take, see hybrid_trainer_plan; 0: as many as it needs
    bool offload_optimizer: training on a GPU: what the optimizer keeps of every weight stays in the host's memory,
    and travels through the GPU's while that computes. The same bits, and about as many bytes
    cross the bus each step, in both directions, as there are (metrics.moved_bytes)
    hybrid_all_reduce_fn all_reduce: NULL: this is the only rank
    bool (*all_reduce_end)(void *user): NULL, or: all_reduce may return before data is the sum, and this waits until
    all of them are, which were begun since it was called last
    void *all_reduce_user"""


class hybrid_train_batch(Structure):
    """A batch is (n_seq, n_ctx) tokens, row by row, each sequence from its beginning. Zero stands for fields that are not
    needed.
    const int32_t *ids: what is read
    const int32_t *targets: what should come next; negative: not counted
    const float *weights: how much each target counts, at least 0; NULL: 1 each
    int32_t n_seq, n_ctx: of a batch that is smaller than the trainer's; 0: as large
    const void *own: of somebody else's model: what its functions are given; the rest is not looked at"""


class hybrid_predict_step(Structure):
    """hybrid_phase phase: in which the step was
    hybrid_predict_event event
    double low, high: the loss of the step was expected between them, at nine of ten; both 0: nothing was
    double confidence: 0..1, that a prediction gains something
    double moved: norm of the move, as a part of that of the window's steps
    double said: a move was judged with this step: the confidence that it was made with; 0: none was,
    double worth: and how many steps it had gone in advance; negative: it had gone back"""


class hybrid_train_metrics(Structure):
    """int64_t step: steps done, this one included
    int64_t n_tokens: targets counted in this step
    double loss: mean cross-entropy of this step's targets before it, in nats, weights aside
    double grad_norm: of all gradients together, before clipping
    double rate: learning rate of this step
    double seconds: of this step
    double tokens_per_second: targets counted in it, by its seconds
    double seconds_left: until n_steps are done, by the pace of the last steps; 0: n_steps is not known
    uint64_t bytes: that the trainer holds: hybrid_train_plan.total
    uint64_t moved_bytes: of the optimizer's states that went to the GPU or came from it, for this step
    /* How noisy gradients are (McCandlish et al. 2018, the simple noise scale): the number of targets at which the * noise of a batch's gradient is as large as the gradient. Batches far smaller waste steps, batches far larger * waste targets. Estimated from the gradient of the first of n_batches and that of all, averaged over about twenty * steps
    0: not known, as where n_batches is 1 */ double noise_scale
    hybrid_type format: of this step's products
    int64_t n_format_changes: by hybrid_trainer_set_format, in all; and
    uint64_t format_bytes: what they have moved: read and written to have weights in the new format. On the host 0:
    there products round what they read anyway
    double loss_scale: by which the loss of this step was multiplied on the way back; 1: not of fp16
    bool skipped: fp16: a gradient was infinite or NaN, so nothing was changed, and this is not a step;
    int64_t n_skipped: how often that has happened
    hybrid_predict_step predict: zero without a predictor"""


class hybrid_train_plan(Structure):
    """---- memory ----

    What a trainer takes, apart from the model, which is there: equal to the byte to what hybrid_trainer_create then
    allocates. If that is more than max_bytes, it does with less, in this order, says so in the log (WARN), and takes the
    same steps:

        1. layers run forward again on the way back (recompute_every): the most layers at a time that fit. The same bits
        2. a batch is worked on in parts of fewer sequences, whose gradients are added up: the largest that fit, each as
           under 1. The same step but for the rounding of sums (a millionth)
        3. on a GPU, states of the optimizer are on the host (offload_optimizer), all of it as under 1 and 2. The same
           bits
        4. a smaller batch would be another step: that is refused, with the n_ctx that would do

    Training on a GPU, max_bytes is about the GPU's memory alone, and what is free there counts as well.
    uint64_t gradients: bytes of a gradient for every weight
    uint64_t states: of what the optimizer keeps of every weight, and works in, wherever it is
    uint64_t kept: of what the forward pass keeps for the way back
    uint64_t logits: of the rows of logits that exist at a time
    uint64_t scratch: of the rest of a pass, and of kernels
    uint64_t rounded: of the weights once more, in the format of products; 0: on the host, and in fp32
    uint64_t other: tables and names
    uint64_t total: their sum
    int32_t n_seq: sequences that are worked on at a time, a divisor of the descriptor's n_seq;
    int32_t recompute_every: layers that run forward again at a time; 0: none do
    bool offloaded: states of the optimizer are on the host, and a GPU trains
    uint64_t host_states: bytes of states on the host then; 0: they are where it trains
    uint64_t host_bytes: of total, those of the host; the others are the GPU's"""


class hybrid_predictor(Structure):
    """A handle: its members are the library's."""


class hybrid_predict_desc(Structure):
    """Zero is a sensible default for every field but trainer.
    hybrid_trainer *trainer: which has no predictor, and is in the middle of no step; it outlives the predictor, or
    is destroyed before: the predictor then only has numbers to give
    hybrid_predict_mode mode
    int32_t warmup_steps: true steps before the first prediction; 0: 100
    int32_t full_steps: true steps after a jump of the rate, or after something went wrong; 0: 20
    int32_t window: K: true steps of a window; 0: 20
    float eta, mu: of mode A; 0: 0.7 and 0.5
    float gamma: of s; 0: 0.9
    float beta: mode A2: how far along the mean step; 0: 0.5
    float amplitude: modes B and C: of what s promises; 0: 1
    int32_t horizon: H, mode B: steps that a jump stands for: 16, 32 (0), 64 or 128; C: 64
    int32_t correction_interval: I, mode C: each I-th step is a true one: 2, 4 (0) or 8
    int32_t correct_steps: true steps after a move of mode A that count as Correct; 0: 5
    float predict_until: modes B and C: part of n_steps after which there are none; 0: 0.75
    float fraction: mode D: of the n_batches of a step, the part that goes back, one at least; 0: 0.5; 1: all, the
    bits of plain training
    float trust: a move is at most so many times as long as the window's d; 0: 0.7
    float sigma: deviations of its noise at which a loss is suspicious; 0: 3
    float explodes, vanishes: times its usual norm, at which a gradient is suspicious; 0: 100 and 0.01
    bool vectors: norms and biases are moved along as well
    bool no_snapshot: less memory: nothing can go back; what goes astray is only stopped
    int32_t members: of an ensemble of small recurrent world models, which watches and foretells losses, gains and
    coefficients; 5 is usual, 16 at most; 0: none. About 4 MB each. Where a GPU trains they learn
    there, if it has another 6 MB for each
    bool learned: modes A and auto: the coefficients of b are what the ensemble foretells, family by family
    /* What hindsight is used for: at the end of a window it is known what it should have been foretold to be. Each is * off at zero
    any of them keeps the window before apart, which takes 4 bytes a weight. */ bool keep_last: moves are judged by the very window before them, not by an estimate of it
    bool correct: families of weights in which the coefficients of the settings, or of the ensemble, are off again
    and again get corrected ones (recursive least squares on the features)
    int32_t residuals: of so many windows what was foretold wrongly is kept, and similar ones correct the next; 1000
    is usual
    int32_t compress_rank: of each matrix, what of the last 8 of these windows lay along none of the directions is
    kept as factors of this rank, at most 60; what they leave out is carried to the next; 0:
    none. Modes A and auto go in advance what similar windows left, while that helps. Carrying
    takes 4 bytes a weight; on the host alone
    bool correct_loss: what the loss is expected to be is corrected in the same way
    bool accumulate: all that weights are moved by is added up: 4 bytes a weight more
    /* Audits: each audit_every-th move of the modes A and B (0: none) is tried: audit_steps (0: 16
    a multiple of 4) * steps with it and as many without it, over the same batches and to a rate of 0
    then the run goes on as if * nothing had been. What a move was really worth corrects the judge. They take at most audit_share of the steps * (0: 0.02), and need mark, go_back, a snapshot, and a trainer that knows its n_steps. */ int32_t audit_every, audit_steps
    float audit_share
    hybrid_placebo placebo
    uint64_t seed
    hybrid_predict_rule rule
    int32_t max_predict_steps: STATIC, ADAPTIVE; 0: 15
    int32_t max_consecutive: predictions in a row, STATIC, ADAPTIVE; 0: 5
    float confidence_threshold: STATIC, ADAPTIVE; 0: 0.85
    /* HYBRID_TUNE_ bits: of what looks on, and recommends (hybrid_predict_metrics)
    of these, of what is carried out: * the run is another one then than without. 0: none */ uint32_t tune, tune_acts
    int32_t most_batches: of a step, that HYBRID_TUNE_BATCHES may ask for; 0: 64
    bool formats: products have a number format of each phase:
    hybrid_type phase_format[4]: by hybrid_phase; see hybrid_trainer_set_format, which changes it for them. It stays as
    it is then when the predictor is destroyed. hybrid_train_metrics counts the changes
    bool park: training on a GPU: while steps are predicted, what the optimizer keeps of every weight is in the
    host's memory; it comes back while the next true step computes. The same bits
    void (*mark)(void *user, void *position): Where the caller is in its data, so that a run that goes back reads the same batches again: mark writes up to 64
    bytes, go_back is given them. NULL: it goes on with the batches that come next.
    void (*go_back)(void *user, const void *position)
    void *user"""


class hybrid_predict_metrics(Structure):
    """hybrid_phase phase
    int64_t steps_of_phase[4]: true steps in each; of PREDICT: those that were predicted
    int64_t n_windows: windows that were looked at
    int64_t n_moves: that weights were moved
    int64_t n_rollbacks
    int64_t n_stopped: moves that were left out because of something that went astray
    double hindsight, hindsight_error: what times b would have been the best guess of the next d: mean, its error
    double cosine: between the next d and b: mean
    double moved: norm of the last move, as a part of that of d
    double coverage: of the band of 90 % so far: part of the losses that were within
    double gained, gained_error: steps: how far moves had gone in advance of what true steps then did
    double error_of_windows, error_of_last, error_of_law: mean |error| of the logarithm of a window's mean loss, told one window before: by level and trend, by the window before, and by the law alone
    double brier, ece: of the confidence
    int64_t n_parked: how often states of the optimizer went to the host (park), and
    uint64_t parked_bytes: how many bytes; as many came back
    int64_t recoveries[HYBRID_RECOVERIES]: how often each was carried out
    double health: Of hybrid_predict_desc.tune, as usual where a part is off, or knows too little: 0 to 1; 0: not known
    double advised_rate, advised_length: factors, of the learning rate and of predictions; 1: as usual
    int32_t advised_full: true steps that should come first
    int32_t plateau: 0: none; 1: slow, 2: stuck, 3: the end of the run
    double shortened[8]: of families of weights: part of the steps in which gradients were out of proportion
    int32_t reach: windows up to which predictions are of use; 0: not known, or not at all
    int32_t batches: that a step should have
    int64_t n_acts[5]: how often the advice of each HYBRID_TUNE_ bit was carried out
    /* With correct: mean squares of the error of coefficients, of the settings and as corrected, of late
    windows and * families in which they were corrected */ double coefficients_error, corrected_error
    int64_t n_corrected
    /* With residuals: that are kept
    how long what was left of a window was, as a part of it, without them and with * them, of late */ int64_t n_residuals
    double residual_error, remembered_error
    /* With compress_rank: bytes that factors saved so far over the matrices that they stand for
    moves that had similar * ones in them
    how long the rest of a window was, as a part of it, and what of it they did not tell, of late */ int64_t bytes_saved, n_recalled
    double rest_error, recalled_error
    double loss_error, corrected_loss_error: with correct_loss: of a window's mean log loss, of late
    /* With accumulate: how long all moves were, and all windows
    how far weights were moved in the end
    of the moves' * length, the part that the window after each took back, and the part that it went on with */ double moved_path, true_path, moved_in_all, taken_back, gone_on
    int64_t n_audits, audit_steps: true steps that they took
    double audit_gain, audit_error: steps that a move was worth: mean over audits, its error
    double audit_bias: steps by which they found more than the judge: mean
    /* Mode D: batches that went back, and those of which only the loss was computed
    the correlation, of late, of a * batch's loss with its gradient along the first moment, and the slope that is used
    by how much the variance of * that part of a batch's gradient is smaller when its loss is known, by slopes of before it was seen, as a part of * it
    and as a part of the noise of the whole gradient (0: not known, as where one batch of a step goes back) */ int64_t n_backward, n_forward
    double loss_correlation, variate_slope, variance_removed, noise_removed
    double seconds: that the predictor took
    uint64_t bytes: that it holds"""


class hybrid_curve(Structure):
    """A handle: its members are the library's."""


class hybrid_curve_desc(Structure):
    """Zero is a sensible default for every field.
    const char *title: of the picture; copied
    const char *path: The numbers: JSON Lines, one a step, appended to the file and handed to the system at once. NULL: no file
    int64_t steps_done: Steps that the run has done, when it goes on from a checkpoint: the file at path is read as far as that, and what
    follows is taken out of the file: steps after the last checkpoint, which come again, and the half of a line
    that a killed program left. 0: a new run, and nothing of an old one is kept. A file that holds anything but
    such lines is refused, and left as it is
    int64_t n_steps: of the whole run: for the time that is left, and for the picture; 0: not known
    int64_t n_tokens: read in a step, for tokens a second; 0: the number of targets
    hybrid_write_fn write: receives every new line as well: in builds without files, or for a log; may be NULL
    void *user"""


class hybrid_curve_point(Structure):
    """int64_t step, n_tokens: n_tokens: of hybrid_curve_desc, or the targets
    double loss, validation: nats a target; NaN: not known
    double rate, grad_norm, seconds
    hybrid_predict_step predict: what a predictor did with it; zero without one
    int64_t went_back: how often the run went back to what it was after this step, and on from there"""


class hybrid_example(Structure):
    """What is to be said, and when: as texts, or as tokens.
    const char *system: NULL: none
    const char *prompt: what the user says; written as hybrid_session_say writes it, in the model's template
    const char *answer: what the model should say then: only this is learned, and that its turn ends there
    const int32_t *ids: Without texts: n_ids tokens, of which the first n_prompt (1 at least) are only read.
    size_t n_ids, n_prompt
    float weight: how much it counts; 0: 1"""


class hybrid_learn_desc(Structure):
    """Zero is a sensible default for every field but the examples.
    const hybrid_example *examples: copied
    size_t n_examples
    int32_t n_steps: 0: 32
    int32_t n_batch: examples of a step; each of them has its turn once a round, in an order that the seed decides.
    0: all, at most 16
    float rate: learning rate of AdamW; 0: 1e-3
    float clip: largest norm of a step's gradients; 0: 1
    float decay: weight decay
    float enough: the lesson ends early when the mean loss of a round, in nats, falls below; 0: never
    uint64_t seed"""


class hybrid_learn_info(Structure):
    """int32_t n_done, n_left: steps of the lesson; n_left 0: it is over
    double loss: mean cross-entropy of the last step's answers before it, in nats
    double first_loss: of the first step
    int64_t n_steps: steps of the adapter in all lessons, but those that were rolled back
    uint64_t bytes: of memory that learning holds"""


class hybrid_ids(Structure):
    """Token ids that hybrid makes for you. Start with zero; use it for as many calls as you like, its memory is used again;
    end with hybrid_ids_free. After a failure it is empty.
    int32_t *data
    size_t n
    size_t capacity: yours to read only, like runtime: where the memory is from
    hybrid_runtime *runtime"""


class hybrid_prompt_desc(Structure):
    """const hybrid_chat_message *messages: a model without a template gets "User: ...", "Assistant: ..." lines
    size_t n_messages
    const char *text: instead of messages: plain text without a template, zero-terminated
    bool follows: text only: it goes on after other tokens, so nothing begins it
    const char *answer: begins the assistant's answer, which goes on from there; NULL: it begins with nothing
    bool no_answer: the prompt ends with the last message, and does not open the assistant's turn
    const char *tools: as in hybrid_chat_desc: a JSON array of tool definitions,
    const char *variables: and a JSON object with more variables: {"enable_thinking": false}
    bool parse_special: Control tokens that messages, tools, variables or the answer spell out ("<|im_end|>") become tokens, as in
    transformers. Else they are the letters that they are written with, and only the template's own become tokens:
    see hybrid_tokenize_spans. In text they always do.
    int64_t now: and these
    int32_t utc_offset
    hybrid_template_limits limits"""


class hybrid_piece(Structure):
    """A piece of an answer; its memory is the stream's, until the next call with it.
    const char *text: valid UTF-8, zero-terminated; never NULL
    size_t size: bytes of text; 0: nothing to show yet, or the answer has ended
    hybrid_piece_kind kind
    hybrid_stop_reason stop: why the answer ended with this piece; HYBRID_STOP_NONE: it goes on
    const int32_t *ids: the tokens that were taken since the last piece, also those that are not shown,
    const float *logprobs: and ln of the probability that the model gave to each, before the sampler changed it; NULL
                                  unless asked for (hybrid_stream_desc.logprobs); 0 where a grammar left no choice
    size_t n_ids"""


class hybrid_stream_desc(Structure):
    """int32_t seq: the sequence of the context that is the stream's alone; -1: the first free one
    int32_t max_positions: that it may fill; 0: n_ctx
    hybrid_sampler_desc sampler: zero: greedy
    int32_t max_tokens: per answer; 0: until the model ends it or the context is full
    const char *const *stops: texts that end an answer; they are not shown
    size_t n_stops
    bool logprobs: pieces carry them; each costs a walk over all logits
    bool whole: nothing is told apart: all pieces are HYBRID_PIECE_ANSWER, and marks that are text are in them
    hybrid_speculation speculation
    int32_t n_guess: tokens that are guessed at once, at most; 0: 15; at most 63
    /* A context of a smaller model with the same tokens, which guesses for this stream
    NULL: none. It is yours, so * make it as the stream needs it: n_ctx for all texts that it follows, n_seq for all streams that have it as their * draft (all of one context)
    hybrid_plan says what it takes. Its memory, its place (CPU or GPU) and its threads * are its own. It must outlive the streams, and belongs to their thread
    leave its sequences and its batch to them. * It reads the prompt, too, before its first guess. With text that it has no room for, or when it fails, there are * no guesses of it, and the answer goes on. In slices, each of its decodes is work of the slice. */ hybrid_context *draft
    /* Where a grammar leaves no choice of text ({"name": ), the tokens that the tokenizer makes of it are taken without * the model, which computes them later, all at once
    for penalties and DRY they are tokens as others. The text is * one that the model could have said
    what follows may differ, as it could have been cut into other tokens. True: * the model chooses these, too. */ bool sample_forced"""


class hybrid_stream_info(Structure):
    """hybrid_stop_reason stop
    int32_t seq, n_max: its sequence; positions that it may fill
    int32_t n_used: tokens of it that are in the cache
    int32_t n_prompt, n_cached: tokens of the last prompt, and how many of them needed no computing: they were in
    the cache, or were forked from another sequence of the context
    int32_t n_generated: tokens of the last answer
    int32_t n_guessed, n_right: tokens of it that were guessed, and those of them that came
    int32_t n_drafted, n_drafted_right: and those of these that were guesses of the draft
    uint64_t prompt_us, generate_us: time that they took, in microseconds; that of a draft is the answer's"""


class hybrid_stream(Structure):
    """A sequence of a context, its sampler, and the text that comes out of it. Several streams may share one context, in
    one thread: they are computed together where they run together, and a beginning that they have in common (32 tokens
    or more) is computed and stored once, whichever of them had it first. The context must outlive them; its sequences
    that belong to streams, and its batch while one runs, are not to be touched by other calls.
    A handle: its members are the library's."""


class hybrid_session(Structure):
    """A stream and a dialog: the messages of a conversation, of which hybrid_prompt makes the ids that the stream goes on
    from.
    A handle: its members are the library's."""


class hybrid_session_desc(Structure):
    """const char *system: system prompt; NULL: none
    hybrid_sampler_desc sampler: zero: greedy
    int32_t max_tokens: per answer; 0: until the model ends it or the context is full
    const char *const *stops: texts that end an answer; they are not shown
    size_t n_stops
    hybrid_context_desc context: n_seq and n_logits are the session's business
    hybrid_context *context_shared: Instead of a context of its own: one that it shares with other sessions, in one thread, and that outlives them.
    It takes the first sequence that no stream has. What conversations begin with in common (a long system prompt) is
    computed and stored once. n_candidates, where there is a GPU, must be 0 or fit all their samplers.
    int32_t max_positions: of a shared context that this session may fill; 0: all n_ctx
    /* A conversation that no longer fits drops its oldest messages until it takes at most this share of the positions, * so that not every turn that follows drops some, and computes all others again. 0: 0.5
    at most 1: only as many as * it takes to fit it beside an answer, which has an eighth of the positions, or max_tokens. */ float keep
    bool logprobs: pieces carry log-probabilities (hybrid_piece)
    void *user: yours: hybrid_session_user gives it back
    bool parse_special: as in hybrid_prompt_desc: control tokens that messages spell out become tokens
    bool whole: What is thought is the answer too, and so are calls of tools, with their marks: as in hybrid_stream_desc. Else
    hybrid_session_next leaves both out, hybrid_session_step gives them by their kind, and the message that an answer
    becomes has everything but what was thought.
    hybrid_speculation speculation: a context of its own has the rows of logits that guesses take
    int32_t n_guess: as in hybrid_stream_desc,
    hybrid_context *draft: and so is this: a context of a smaller model, which guesses
    bool sample_forced: as in hybrid_stream_desc: of answers with a form, the model chooses every token"""


class hybrid_session_info(Structure):
    """hybrid_stop_reason stop
    int32_t n_ctx, n_used: positions of the context, and those taken
    int32_t n_prompt, n_cached: tokens of the last prompt, and how many of them were already in the cache
    int32_t n_generated: tokens of the last answer
    int32_t n_guessed, n_right: tokens of it that were guessed, and those of them that came,
    int32_t n_drafted, n_drafted_right: and those of these that were guesses of the draft
    uint64_t prompt_us, generate_us: time that they took, in microseconds
    int32_t n_forgotten: messages dropped from the front so that the conversation fits"""


class hybrid_answer_desc(Structure):
    """How one answer is made. Zero: as the session makes its answers.
    const hybrid_sampler_desc *sampler: another sampler, of its own seed; NULL: that of the session goes on
    int32_t max_tokens: 0: the session's
    const char *begin: the answer begins with this text, as if the model had said it; it is no piece, but a part of
                              the message. NULL: nothing
    const char *variables: of the template, a JSON object: {"enable_thinking": false}
    const char *tools: a JSON array of tool definitions
    hybrid_speculation speculation: INVALID when it is not off, but the session was created without"""


class hybrid_crowd(Structure):
    """Any number of sessions that share a context (hybrid_session_desc.context_shared), and one call a frame for all of
    them: those that answer are computed in one batch, token by token, and prompts beside them in portions.

        hybrid_crowd_create(context, &crowd, &err);
        hybrid_crowd_add(crowd, guard, 1, &err);
        hybrid_crowd_add(crowd, smith, 2, &err);
        hybrid_session_say(smith, "What do you sell?");
        while (frame()) {
            hybrid_crowd_step(crowd, 2000, &err);
            while ((who = hybrid_crowd_next(crowd, &piece)) != NULL) show(hybrid_session_user(who), piece.text);
        }

    Each session says what it says alone, bit for bit. A beginning that several have in common is computed by one of
    them, and the others wait for it.
    A handle: its members are the library's."""


class hybrid_target(Structure):
    """Where bytes go: exactly one of the three.
    const char *path: a file: it gets its name when it is complete and on the disk. A failure leaves the old one
    hybrid_write_fn write: gets the bytes in order; what it got before a failure is worth nothing
    void *user: of write
    void *data: memory of `capacity` bytes
    size_t capacity: of data. LIMIT, with the number that is needed, when it is too small"""


class hybrid_named_adapter(Structure):
    """An adapter that a saved sequence wears, or that its tokens were read with. It is known by its values; the name is for
    people.
    const char *id: zero-terminated, at most 255 bytes; NULL: ""
    hybrid_adapter *adapter"""


class hybrid_save_desc(Structure):
    """Zero keeps everything.
    /* To save: only the tokens, 8 bytes each
    loading computes the rest from them, and takes the time of a prompt. A * recurrent state cannot be cut then where its last decode began. */ bool recompute
    const hybrid_named_adapter *adapters: To save: the names of adapters, where they have any. To load: those that saved sequences may have worn.
    size_t n_adapters"""


class hybrid_struct_size(Structure):
    """const char *name: "hybrid_error", zero-terminated
    size_t size: bytes, as the caller has it"""


hybrid_error._fields_ = [
    ("result", c_int),
    ("offset", c_uint64),
    ("message", c_char * 256),
]
hybrid_allocator._fields_ = [
    ("alloc", CFUNCTYPE(c_void_p, c_void_p, c_size_t)),
    ("free", CFUNCTYPE(None, c_void_p, c_void_p)),
    ("user", c_void_p),
]
hybrid_logger._fields_ = [
    ("log", CFUNCTYPE(None, c_void_p, c_int, c_char_p)),
    ("user", c_void_p),
]
hybrid_reader._fields_ = [
    ("read_at", CFUNCTYPE(c_bool, c_void_p, c_uint64, c_void_p, c_size_t)),
    ("close", CFUNCTYPE(None, c_void_p)),
    ("size", c_uint64),
    ("user", c_void_p),
]
hybrid_span._fields_ = [
    ("begin", c_size_t),
    ("end", c_size_t),
]
hybrid_write_fn = CFUNCTYPE(c_bool, c_void_p, c_void_p, c_size_t)
hybrid_progress_fn = CFUNCTYPE(c_bool, c_void_p, c_float)
hybrid_source._fields_ = [
    ("path", c_char_p),
    ("data", c_void_p),
    ("size", c_size_t),
    ("reader", hybrid_reader),
    ("parts", POINTER(hybrid_source)),
    ("n_parts", c_size_t),
]
hybrid_task_fn = CFUNCTYPE(None, c_void_p, c_int32)
hybrid_kernel_cache._fields_ = [
    ("path", c_char_p),
    ("load", CFUNCTYPE(c_size_t, c_void_p, c_char_p, c_void_p, c_size_t)),
    ("store", CFUNCTYPE(None, c_void_p, c_char_p, c_void_p, c_size_t)),
    ("user", c_void_p),
]
hybrid_runtime_desc._fields_ = [
    ("allocator", hybrid_allocator),
    ("logger", hybrid_logger),
    ("n_threads", c_int32),
    ("parallel_for", CFUNCTYPE(None, c_void_p, c_int32, hybrid_task_fn, c_void_p)),
    ("parallel_user", c_void_p),
    ("isa", c_char_p),
    ("device", c_char_p),
    ("max_device_bytes", c_uint64),
    ("kernel_cache", hybrid_kernel_cache),
]
hybrid_device_info._fields_ = [
    ("id", c_char * 16),
    ("name", c_char * 96),
    ("total_bytes", c_uint64),
    ("free_bytes", c_uint64),
    ("capability", c_int32),
]
hybrid_mix_model._fields_ = [
    ("architecture", c_char_p),
    ("n_layer", c_int32),
    ("n_expert", c_int32),
    ("n_head", c_int32),
    ("n_head_kv", c_int32),
    ("tied_output", c_bool),
    ("n_head_kv_of", POINTER(c_int32)),
]
hybrid_string._fields_ = [
    ("data", POINTER(c_char)),
    ("size", c_size_t),
]
hybrid_gguf_value._fields_ = [
    ("type", c_int),
    ("item_type", c_int),
    ("count", c_uint64),
    ("data", c_void_p),
    ("size", c_uint64),
    ("index", POINTER(c_uint32)),
]
hybrid_gguf_tensor._fields_ = [
    ("name", hybrid_string),
    ("type", c_int),
    ("type_id", c_uint32),
    ("n_dims", c_int32),
    ("ne", c_uint64 * 4),
    ("offset", c_uint64),
    ("size", c_uint64),
    ("data", c_void_p),
    ("part", c_uint32),
]
hybrid_tokenizer_desc._fields_ = [
    ("model", c_char_p),
    ("pre", c_char_p),
    ("tokens", POINTER(hybrid_string)),
    ("n_tokens", c_size_t),
    ("types", POINTER(c_uint8)),
    ("scores", POINTER(c_float)),
    ("merges", POINTER(hybrid_string)),
    ("n_merges", c_size_t),
    ("raw_tokens", c_bool),
    ("add_bos", c_bool),
    ("add_eos", c_bool),
    ("no_space_prefix", c_bool),
    ("strip_right", c_bool),
    ("roles", c_char_p * HYBRID_ROLE_COUNT_),
]
hybrid_utf8_stream._fields_ = [
    ("pending", c_ubyte * 4),
    ("size", c_ubyte),
]
hybrid_text._fields_ = [
    ("data", POINTER(c_char)),
    ("size", c_size_t),
    ("capacity", c_size_t),
    ("runtime", POINTER(hybrid_runtime)),
    ("own", POINTER(hybrid_span)),
    ("n_own", c_size_t),
    ("own_capacity", c_size_t),
]
hybrid_template_desc._fields_ = [
    ("text", c_char_p),
    ("size", c_size_t),
    ("dialect", c_int),
    ("no_trim_blocks", c_bool),
    ("no_lstrip_blocks", c_bool),
]
hybrid_template_limits._fields_ = [
    ("max_memory", c_size_t),
    ("max_output", c_size_t),
    ("max_steps", c_uint64),
    ("max_depth", c_int32),
]
hybrid_render_desc._fields_ = [
    ("context", c_char_p),
    ("context_size", c_size_t),
    ("now", c_int64),
    ("utc_offset", c_int32),
    ("limits", hybrid_template_limits),
]
hybrid_chat_message._fields_ = [
    ("role", c_char_p),
    ("content", c_char_p),
]
hybrid_chat_desc._fields_ = [
    ("add_generation_prompt", c_bool),
    ("merge_system", c_bool),
    ("bos_token", c_char_p),
    ("eos_token", c_char_p),
    ("messages", c_char_p),
    ("tools", c_char_p),
    ("extra", c_char_p),
    ("now", c_int64),
    ("utc_offset", c_int32),
    ("limits", hybrid_template_limits),
    ("unk_token", c_char_p),
    ("sep_token", c_char_p),
    ("pad_token", c_char_p),
    ("cls_token", c_char_p),
    ("mask_token", c_char_p),
]
hybrid_grammar_desc._fields_ = [
    ("gbnf", c_char_p),
    ("gbnf_size", c_size_t),
    ("schema", c_char_p),
    ("schema_size", c_size_t),
    ("trigger", c_char_p),
]
hybrid_bpe_desc._fields_ = [
    ("texts", POINTER(hybrid_source)),
    ("n_texts", c_size_t),
    ("vocab_size", c_int32),
    ("specials", POINTER(c_char_p)),
    ("n_specials", c_size_t),
    ("bos", c_char_p),
    ("eos", c_char_p),
    ("add_bos", c_bool),
    ("pre", c_char_p),
    ("min_frequency", c_uint64),
    ("max_token_bytes", c_size_t),
    ("ties", c_int),
    ("max_bytes", c_uint64),
    ("progress", hybrid_progress_fn),
    ("user", c_void_p),
]
hybrid_bpe_info._fields_ = [
    ("n_documents", c_uint64),
    ("n_bytes", c_uint64),
    ("n_words", c_uint64),
    ("n_different", c_uint64),
    ("n_tokens", c_int32),
    ("n_merges", c_int32),
    ("last_frequency", c_uint64),
    ("peak_bytes", c_uint64),
]
hybrid_data_desc._fields_ = [
    ("kind", c_int),
    ("sources", POINTER(hybrid_source)),
    ("n_sources", c_size_t),
    ("tokenizer", POINTER(hybrid_tokenizer)),
    ("tmpl", POINTER(hybrid_template)),
    ("n_ctx", c_int32),
    ("n_vocab", c_int32),
    ("separator", POINTER(c_int32)),
    ("header", c_uint64),
    ("parse_special", c_bool),
    ("across", c_bool),
    ("in_order", c_bool),
    ("seed", c_uint64),
    ("validation", c_float),
    ("bad_line", CFUNCTYPE(c_bool, c_void_p, c_size_t, c_uint64, c_char_p)),
    ("progress", hybrid_progress_fn),
    ("user", c_void_p),
    ("max_bytes", c_uint64),
]
hybrid_data_info._fields_ = [
    ("n_documents", c_uint64),
    ("n_tokens", c_uint64),
    ("n_bad", c_uint64),
    ("n_windows", c_uint64),
    ("n_targets", c_uint64),
    ("n_validation_windows", c_uint64),
    ("n_validation_targets", c_uint64),
    ("bytes", c_uint64),
    ("n_ctx", c_int32),
]
hybrid_data_position._fields_ = [
    ("epoch", c_uint64),
    ("index", c_uint64),
]
hybrid_model_desc._fields_ = [
    ("path", c_char_p),
    ("source", hybrid_source),
    ("no_map", c_bool),
    ("trainable", c_bool),
    ("progress", hybrid_progress_fn),
    ("progress_user", c_void_p),
    ("device_n_ctx", c_int32),
    ("repack", c_bool),
]
hybrid_model_info._fields_ = [
    ("architecture", c_char * 32),
    ("name", c_char * 64),
    ("n_params", c_uint64),
    ("n_bytes", c_uint64),
    ("repacked_bytes", c_uint64),
    ("n_vocab", c_int32),
    ("n_ctx_train", c_int32),
    ("n_embd", c_int32),
    ("n_layer", c_int32),
    ("n_head", c_int32),
    ("n_head_kv", c_int32),
    ("head_dim", c_int32),
    ("n_ff", c_int32),
    ("n_expert", c_int32),
    ("n_expert_used", c_int32),
    ("is_recurrent", c_bool),
    ("is_encoder", c_bool),
    ("has_template", c_bool),
    ("device", c_char * 96),
    ("n_layer_device", c_int32),
    ("device_bytes", c_uint64),
]
hybrid_trace_fn = CFUNCTYPE(None, c_void_p, c_char_p, c_int32, POINTER(c_float), c_int64, c_int64, c_int64)
hybrid_context_desc._fields_ = [
    ("n_ctx", c_int32),
    ("n_seq", c_int32),
    ("n_batch", c_int32),
    ("n_logits", c_int32),
    ("kv", c_int),
    ("n_candidates", c_int32),
    ("adapter_rank", c_int32),
    ("trace", hybrid_trace_fn),
    ("trace_user", c_void_p),
]
hybrid_memory_plan._fields_ = [
    ("mapped", c_uint64),
    ("weights", c_uint64),
    ("model", c_uint64),
    ("kv", c_uint64),
    ("compute", c_uint64),
    ("total", c_uint64),
    ("device_weights", c_uint64),
    ("device_kv", c_uint64),
    ("device_compute", c_uint64),
    ("device", c_uint64),
    ("n_layer_device", c_int32),
]
hybrid_adapter_desc._fields_ = [
    ("rank", c_int32),
    ("alpha", c_float),
    ("targets", POINTER(c_char_p)),
    ("n_targets", c_size_t),
    ("seed", c_uint64),
]
hybrid_adapter_info._fields_ = [
    ("rank", c_int32),
    ("alpha", c_float),
    ("n_matrices", c_size_t),
    ("n_params", c_uint64),
    ("bytes", c_uint64),
    ("device_bytes", c_uint64),
]
hybrid_logit_bias._fields_ = [
    ("id", c_int32),
    ("bias", c_float),
]
hybrid_sampler_function = CFUNCTYPE(None, c_void_p, POINTER(c_int32), POINTER(c_float), c_int32)
hybrid_sampler_desc._fields_ = [
    ("repetition_penalty", c_float),
    ("frequency_penalty", c_float),
    ("presence_penalty", c_float),
    ("penalty_last_n", c_int32),
    ("dry_multiplier", c_float),
    ("dry_base", c_float),
    ("dry_allowed_length", c_int32),
    ("dry_last_n", c_int32),
    ("dry_breakers", POINTER(c_int32)),
    ("n_dry_breakers", c_size_t),
    ("bias", POINTER(hybrid_logit_bias)),
    ("n_bias", c_size_t),
    ("function", hybrid_sampler_function),
    ("function_user", c_void_p),
    ("n_function", c_int32),
    ("temperature", c_float),
    ("temperature_range", c_float),
    ("temperature_exponent", c_float),
    ("top_n_sigma", c_float),
    ("top_k", c_int32),
    ("top_p", c_float),
    ("min_p", c_float),
    ("typical_p", c_float),
    ("xtc_probability", c_float),
    ("xtc_threshold", c_float),
    ("mirostat", c_int32),
    ("mirostat_tau", c_float),
    ("mirostat_eta", c_float),
    ("seed", c_uint64),
]
hybrid_score_desc._fields_ = [
    ("prompt", c_char_p),
    ("texts", POINTER(c_char_p)),
    ("n_texts", c_size_t),
    ("special", c_bool),
    ("prompt_ids", POINTER(c_int32)),
    ("n_prompt_ids", c_size_t),
    ("text_ids", POINTER(POINTER(c_int32))),
    ("n_text_ids", POINTER(c_size_t)),
]
hybrid_score_info._fields_ = [
    ("each", POINTER(c_float)),
    ("n_room", c_size_t),
    ("sum", c_double),
    ("mean", c_double),
    ("n_tokens", c_size_t),
    ("n_best", c_size_t),
]
hybrid_embed_desc._fields_ = [
    ("texts", POINTER(c_char_p)),
    ("n_texts", c_size_t),
    ("ids", POINTER(POINTER(c_int32))),
    ("n_ids", POINTER(c_size_t)),
    ("pooling", c_int),
    ("raw", c_bool),
    ("truncate", c_bool),
    ("progress", hybrid_progress_fn),
    ("progress_user", c_void_p),
]
hybrid_model_shape._fields_ = [
    ("architecture", c_char_p),
    ("name", c_char_p),
    ("tokenizer", POINTER(hybrid_tokenizer)),
    ("n_vocab", c_int32),
    ("n_ctx", c_int32),
    ("n_embd", c_int32),
    ("n_layer", c_int32),
    ("n_head", c_int32),
    ("n_head_kv", c_int32),
    ("n_ff", c_int32),
    ("untied_head", c_bool),
    ("seed", c_uint64),
]
hybrid_trainable_param._fields_ = [
    ("name", c_char_p),
    ("at", c_size_t),
    ("rows", c_int64),
    ("cols", c_int64),
    ("is_table", c_bool),
]
hybrid_trainable._fields_ = [
    ("runtime", POINTER(hybrid_runtime)),
    ("name", c_char_p),
    ("params", POINTER(hybrid_trainable_param)),
    ("n_params", c_int32),
    ("weights", POINTER(c_float)),
    ("n_weights", c_size_t),
    ("user", c_void_p),
    ("count", CFUNCTYPE(c_int64, c_void_p, c_void_p)),
    ("gradients", CFUNCTYPE(c_bool, c_void_p, c_void_p, c_double, POINTER(c_float), POINTER(c_double))),
]
hybrid_all_reduce_fn = CFUNCTYPE(c_bool, c_void_p, POINTER(c_float), c_size_t, c_void_p)
hybrid_trainer_desc._fields_ = [
    ("model", POINTER(hybrid_model)),
    ("adapter", POINTER(hybrid_adapter)),
    ("own", POINTER(hybrid_trainable)),
    ("n_seq", c_int32),
    ("n_ctx", c_int32),
    ("n_batches", c_int32),
    ("recompute_every", c_int32),
    ("format", c_int),
    ("optimizer", c_int),
    ("rate", c_float),
    ("beta1", c_float),
    ("beta2", c_float),
    ("eps", c_float),
    ("momentum", c_float),
    ("nesterov", c_bool),
    ("muon_rate", c_float),
    ("decay", c_float),
    ("decay_vectors", c_bool),
    ("clip", c_float),
    ("ema", c_float),
    ("schedule", c_int),
    ("n_warmup", c_int64),
    ("n_decay", c_int64),
    ("n_steps", c_int64),
    ("rate_end", c_float),
    ("max_bytes", c_size_t),
    ("offload_optimizer", c_bool),
    ("all_reduce", hybrid_all_reduce_fn),
    ("all_reduce_end", CFUNCTYPE(c_bool, c_void_p)),
    ("all_reduce_user", c_void_p),
]
hybrid_train_batch._fields_ = [
    ("ids", POINTER(c_int32)),
    ("targets", POINTER(c_int32)),
    ("weights", POINTER(c_float)),
    ("n_seq", c_int32),
    ("n_ctx", c_int32),
    ("own", c_void_p),
]
hybrid_predict_step._fields_ = [
    ("phase", c_int),
    ("event", c_int),
    ("low", c_double),
    ("high", c_double),
    ("confidence", c_double),
    ("moved", c_double),
    ("said", c_double),
    ("worth", c_double),
]
hybrid_train_metrics._fields_ = [
    ("step", c_int64),
    ("n_tokens", c_int64),
    ("loss", c_double),
    ("grad_norm", c_double),
    ("rate", c_double),
    ("seconds", c_double),
    ("tokens_per_second", c_double),
    ("seconds_left", c_double),
    ("bytes", c_uint64),
    ("moved_bytes", c_uint64),
    ("noise_scale", c_double),
    ("format", c_int),
    ("n_format_changes", c_int64),
    ("format_bytes", c_uint64),
    ("loss_scale", c_double),
    ("skipped", c_bool),
    ("n_skipped", c_int64),
    ("predict", hybrid_predict_step),
]
hybrid_train_plan._fields_ = [
    ("gradients", c_uint64),
    ("states", c_uint64),
    ("kept", c_uint64),
    ("logits", c_uint64),
    ("scratch", c_uint64),
    ("rounded", c_uint64),
    ("other", c_uint64),
    ("total", c_uint64),
    ("n_seq", c_int32),
    ("recompute_every", c_int32),
    ("offloaded", c_bool),
    ("host_states", c_uint64),
    ("host_bytes", c_uint64),
]
hybrid_predict_desc._fields_ = [
    ("trainer", POINTER(hybrid_trainer)),
    ("mode", c_int),
    ("warmup_steps", c_int32),
    ("full_steps", c_int32),
    ("window", c_int32),
    ("eta", c_float),
    ("mu", c_float),
    ("gamma", c_float),
    ("beta", c_float),
    ("amplitude", c_float),
    ("horizon", c_int32),
    ("correction_interval", c_int32),
    ("correct_steps", c_int32),
    ("predict_until", c_float),
    ("fraction", c_float),
    ("trust", c_float),
    ("sigma", c_float),
    ("explodes", c_float),
    ("vanishes", c_float),
    ("vectors", c_bool),
    ("no_snapshot", c_bool),
    ("members", c_int32),
    ("learned", c_bool),
    ("keep_last", c_bool),
    ("correct", c_bool),
    ("residuals", c_int32),
    ("compress_rank", c_int32),
    ("correct_loss", c_bool),
    ("accumulate", c_bool),
    ("audit_every", c_int32),
    ("audit_steps", c_int32),
    ("audit_share", c_float),
    ("placebo", c_int),
    ("seed", c_uint64),
    ("rule", c_int),
    ("max_predict_steps", c_int32),
    ("max_consecutive", c_int32),
    ("confidence_threshold", c_float),
    ("tune", c_uint32),
    ("tune_acts", c_uint32),
    ("most_batches", c_int32),
    ("formats", c_bool),
    ("phase_format", c_int * 4),
    ("park", c_bool),
    ("mark", CFUNCTYPE(None, c_void_p, c_void_p)),
    ("go_back", CFUNCTYPE(None, c_void_p, c_void_p)),
    ("user", c_void_p),
]
hybrid_predict_metrics._fields_ = [
    ("phase", c_int),
    ("steps_of_phase", c_int64 * 4),
    ("n_windows", c_int64),
    ("n_moves", c_int64),
    ("n_rollbacks", c_int64),
    ("n_stopped", c_int64),
    ("hindsight", c_double),
    ("hindsight_error", c_double),
    ("cosine", c_double),
    ("moved", c_double),
    ("coverage", c_double),
    ("gained", c_double),
    ("gained_error", c_double),
    ("error_of_windows", c_double),
    ("error_of_last", c_double),
    ("error_of_law", c_double),
    ("brier", c_double),
    ("ece", c_double),
    ("n_parked", c_int64),
    ("parked_bytes", c_uint64),
    ("recoveries", c_int64 * HYBRID_RECOVERIES),
    ("health", c_double),
    ("advised_rate", c_double),
    ("advised_length", c_double),
    ("advised_full", c_int32),
    ("plateau", c_int32),
    ("shortened", c_double * 8),
    ("reach", c_int32),
    ("batches", c_int32),
    ("n_acts", c_int64 * 5),
    ("coefficients_error", c_double),
    ("corrected_error", c_double),
    ("n_corrected", c_int64),
    ("n_residuals", c_int64),
    ("residual_error", c_double),
    ("remembered_error", c_double),
    ("bytes_saved", c_int64),
    ("n_recalled", c_int64),
    ("rest_error", c_double),
    ("recalled_error", c_double),
    ("loss_error", c_double),
    ("corrected_loss_error", c_double),
    ("moved_path", c_double),
    ("true_path", c_double),
    ("moved_in_all", c_double),
    ("taken_back", c_double),
    ("gone_on", c_double),
    ("n_audits", c_int64),
    ("audit_steps", c_int64),
    ("audit_gain", c_double),
    ("audit_error", c_double),
    ("audit_bias", c_double),
    ("n_backward", c_int64),
    ("n_forward", c_int64),
    ("loss_correlation", c_double),
    ("variate_slope", c_double),
    ("variance_removed", c_double),
    ("noise_removed", c_double),
    ("seconds", c_double),
    ("bytes", c_uint64),
]
hybrid_curve_desc._fields_ = [
    ("title", c_char_p),
    ("path", c_char_p),
    ("steps_done", c_int64),
    ("n_steps", c_int64),
    ("n_tokens", c_int64),
    ("write", hybrid_write_fn),
    ("user", c_void_p),
]
hybrid_curve_point._fields_ = [
    ("step", c_int64),
    ("n_tokens", c_int64),
    ("loss", c_double),
    ("validation", c_double),
    ("rate", c_double),
    ("grad_norm", c_double),
    ("seconds", c_double),
    ("predict", hybrid_predict_step),
    ("went_back", c_int64),
]
hybrid_example._fields_ = [
    ("system", c_char_p),
    ("prompt", c_char_p),
    ("answer", c_char_p),
    ("ids", POINTER(c_int32)),
    ("n_ids", c_size_t),
    ("n_prompt", c_size_t),
    ("weight", c_float),
]
hybrid_learn_desc._fields_ = [
    ("examples", POINTER(hybrid_example)),
    ("n_examples", c_size_t),
    ("n_steps", c_int32),
    ("n_batch", c_int32),
    ("rate", c_float),
    ("clip", c_float),
    ("decay", c_float),
    ("enough", c_float),
    ("seed", c_uint64),
]
hybrid_learn_info._fields_ = [
    ("n_done", c_int32),
    ("n_left", c_int32),
    ("loss", c_double),
    ("first_loss", c_double),
    ("n_steps", c_int64),
    ("bytes", c_uint64),
]
hybrid_ids._fields_ = [
    ("data", POINTER(c_int32)),
    ("n", c_size_t),
    ("capacity", c_size_t),
    ("runtime", POINTER(hybrid_runtime)),
]
hybrid_prompt_desc._fields_ = [
    ("messages", POINTER(hybrid_chat_message)),
    ("n_messages", c_size_t),
    ("text", c_char_p),
    ("follows", c_bool),
    ("answer", c_char_p),
    ("no_answer", c_bool),
    ("tools", c_char_p),
    ("variables", c_char_p),
    ("parse_special", c_bool),
    ("now", c_int64),
    ("utc_offset", c_int32),
    ("limits", hybrid_template_limits),
]
hybrid_piece._fields_ = [
    ("text", c_char_p),
    ("size", c_size_t),
    ("kind", c_int),
    ("stop", c_int),
    ("ids", POINTER(c_int32)),
    ("logprobs", POINTER(c_float)),
    ("n_ids", c_size_t),
]
hybrid_stream_desc._fields_ = [
    ("seq", c_int32),
    ("max_positions", c_int32),
    ("sampler", hybrid_sampler_desc),
    ("max_tokens", c_int32),
    ("stops", POINTER(c_char_p)),
    ("n_stops", c_size_t),
    ("logprobs", c_bool),
    ("whole", c_bool),
    ("speculation", c_int),
    ("n_guess", c_int32),
    ("draft", POINTER(hybrid_context)),
    ("sample_forced", c_bool),
]
hybrid_stream_info._fields_ = [
    ("stop", c_int),
    ("seq", c_int32),
    ("n_max", c_int32),
    ("n_used", c_int32),
    ("n_prompt", c_int32),
    ("n_cached", c_int32),
    ("n_generated", c_int32),
    ("n_guessed", c_int32),
    ("n_right", c_int32),
    ("n_drafted", c_int32),
    ("n_drafted_right", c_int32),
    ("prompt_us", c_uint64),
    ("generate_us", c_uint64),
]
hybrid_session_desc._fields_ = [
    ("system", c_char_p),
    ("sampler", hybrid_sampler_desc),
    ("max_tokens", c_int32),
    ("stops", POINTER(c_char_p)),
    ("n_stops", c_size_t),
    ("context", hybrid_context_desc),
    ("context_shared", POINTER(hybrid_context)),
    ("max_positions", c_int32),
    ("keep", c_float),
    ("logprobs", c_bool),
    ("user", c_void_p),
    ("parse_special", c_bool),
    ("whole", c_bool),
    ("speculation", c_int),
    ("n_guess", c_int32),
    ("draft", POINTER(hybrid_context)),
    ("sample_forced", c_bool),
]
hybrid_session_info._fields_ = [
    ("stop", c_int),
    ("n_ctx", c_int32),
    ("n_used", c_int32),
    ("n_prompt", c_int32),
    ("n_cached", c_int32),
    ("n_generated", c_int32),
    ("n_guessed", c_int32),
    ("n_right", c_int32),
    ("n_drafted", c_int32),
    ("n_drafted_right", c_int32),
    ("prompt_us", c_uint64),
    ("generate_us", c_uint64),
    ("n_forgotten", c_int32),
]
hybrid_answer_desc._fields_ = [
    ("sampler", POINTER(hybrid_sampler_desc)),
    ("max_tokens", c_int32),
    ("begin", c_char_p),
    ("variables", c_char_p),
    ("tools", c_char_p),
    ("speculation", c_int),
]
hybrid_target._fields_ = [
    ("path", c_char_p),
    ("write", hybrid_write_fn),
    ("user", c_void_p),
    ("data", c_void_p),
    ("capacity", c_size_t),
]
hybrid_named_adapter._fields_ = [
    ("id", c_char_p),
    ("adapter", POINTER(hybrid_adapter)),
]
hybrid_save_desc._fields_ = [
    ("recompute", c_bool),
    ("adapters", POINTER(hybrid_named_adapter)),
    ("n_adapters", c_size_t),
]
hybrid_struct_size._fields_ = [
    ("name", c_char_p),
    ("size", c_size_t),
]

LIBRARY = os.environ.get("HYBRID_LIBRARY") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libhybrid.so")
_library = CDLL(LIBRARY)


def _function(name, returns, arguments, words):
    try:
        function = getattr(_library, name)
    except AttributeError:
        raise ImportError("%s has no %s: make it from the hybrid.h that hybrid.py was made from, without HYBRID_NO_..."
                          % (LIBRARY, name)) from None
    function.restype, function.argtypes, function.__doc__ = returns, arguments, words
    return function


hybrid_result_text = _function('hybrid_result_text', c_char_p, [c_int],
    """const char *hybrid_result_text(hybrid_result result)

    The text of a result code: a constant string, never NULL. Thread-safe.""")

hybrid_version = _function('hybrid_version', c_char_p, [],
    """const char *hybrid_version(void)

    "0.1.0" and the id of the sources that a header was made from ("dev" in a source tree). Thread-safe.""")

hybrid_source_id = _function('hybrid_source_id', c_char_p, [],
    """const char *hybrid_source_id(void)""")

hybrid_runtime_create = _function('hybrid_runtime_create', c_int, [POINTER(hybrid_runtime_desc), POINTER(POINTER(hybrid_runtime)), POINTER(hybrid_error)],
    """hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error)

    Creates a runtime; desc may be NULL. Objects keep it alive: it may be destroyed before them. Threads start on first
    use and sleep when idle. A runtime may be used by several threads; one parallel section runs at a time, others
    compute alone.
    A forked child may use and destroy what it inherited: worker threads are started anew there, and what was on a GPU is
    computed on the CPU (CUDA does not work in a child; a device that was asked for by name is HYBRID_ERROR_DEVICE). What
    another thread was using at the moment of the fork can only be destroyed there.""")

hybrid_runtime_destroy = _function('hybrid_runtime_destroy', None, [POINTER(hybrid_runtime)],
    """void hybrid_runtime_destroy(hybrid_runtime *runtime)""")

hybrid_runtime_isa = _function('hybrid_runtime_isa', c_char_p, [POINTER(hybrid_runtime)],
    """const char *hybrid_runtime_isa(const hybrid_runtime *runtime)

    "avx512", "avxvnni", "avx2", "neon" or "generic": what the kernels of this runtime use.""")

hybrid_runtime_threads = _function('hybrid_runtime_threads', c_int32, [POINTER(hybrid_runtime)],
    """int32_t hybrid_runtime_threads(const hybrid_runtime *runtime)""")

hybrid_devices = _function('hybrid_devices', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_device_info), c_size_t, POINTER(c_size_t), POINTER(hybrid_error)],
    """hybrid_result hybrid_devices(hybrid_runtime *runtime, hybrid_device_info *list, size_t capacity, size_t *count, hybrid_error *error)

    Lists the GPUs that can be used: the first `capacity` of *count. None is a success too: then *count is 0 and error
    (if any) says what was looked for and what would help. runtime may be NULL.""")

hybrid_runtime_device = _function('hybrid_runtime_device', c_char_p, [POINTER(hybrid_runtime)],
    """const char *hybrid_runtime_device(hybrid_runtime *runtime)

    "NVIDIA H200", or "" as long as the runtime computes on the CPU only. Opened when the first model is loaded.""")

hybrid_type_name = _function('hybrid_type_name', c_char_p, [c_int],
    """const char *hybrid_type_name(hybrid_type type)

    Name ("Q4_K"), elements a block, bytes a block of a type. NULL / 0 for a type that hybrid does not know.
    Thread-safe.""")

hybrid_type_block_size = _function('hybrid_type_block_size', c_size_t, [c_int],
    """size_t hybrid_type_block_size(hybrid_type type)""")

hybrid_type_block_bytes = _function('hybrid_type_block_bytes', c_size_t, [c_int],
    """size_t hybrid_type_block_bytes(hybrid_type type)""")

hybrid_type_row_bytes = _function('hybrid_type_row_bytes', c_size_t, [c_int, c_size_t],
    """size_t hybrid_type_row_bytes(hybrid_type type, size_t n)

    Bytes of n elements; 0 when the type is unknown or n is not a multiple of the block.""")

hybrid_dequantize = _function('hybrid_dequantize', c_int, [c_int, c_void_p, POINTER(c_float), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n, hybrid_error *error)

    n values (a multiple of the type's block size) from blocks to floats, bit-exact to the GGUF reference decoder. blocks
    is 2-byte aligned (the float types: any address). HYBRID_ERROR_INVALID for an unknown type, a wrong n, NULL.
    Thread-safe, no allocation.""")

hybrid_quantize = _function('hybrid_quantize', c_int, [c_int, POINTER(c_float), c_void_p, c_size_t, POINTER(c_float), POINTER(hybrid_error)],
    """hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n, const float *importance, hybrid_error *error)

    And back: hybrid_type_row_bytes(type, n) bytes are written. The block types search for the scales that make the sum
    of importance[i] * (error of value i)^2 small; importance is n finite values >= 0, or NULL for all equal. The result
    depends on the arguments only, not on the machine or the compiler. Values beyond the range of a type's scales (65504
    times its steps) become the largest that it can hold; in F16 and BF16 they become infinite, as IEEE 754 rounds them.
    HYBRID_ERROR_INVALID as above, or for a bad importance: nothing is written. HYBRID_ERROR_NUMERIC: a value is NaN or
    infinite, which blocks cannot hold (error->offset: which one); all is written, and the blocks with such values decode
    to NaN. (The float types
    keep NaN and infinity: HYBRID_OK.) Thread-safe, no allocation.""")

hybrid_convert = _function('hybrid_convert', c_int, [POINTER(hybrid_runtime), c_int, c_void_p, c_int, c_void_p, c_size_t, c_size_t, POINTER(c_float), POINTER(hybrid_error)],
    """hybrid_result hybrid_convert(hybrid_runtime *runtime, hybrid_type from, const void *src, hybrid_type to, void *dst, size_t n_rows, size_t row, const float *importance, hybrid_error *error)

    n_rows rows of `row` values each, from one type to another (as hybrid_dequantize and hybrid_quantize do it), on all
    threads of runtime (NULL: a default one). importance: `row` values, the same for every row, or NULL. The result does
    not depend on the threads.
    HYBRID_ERROR_INVALID, _MEMORY, _NUMERIC (all is written, as for hybrid_quantize).""")

hybrid_mix_name = _function('hybrid_mix_name', c_char_p, [c_int],
    """const char *hybrid_mix_name(hybrid_mix mix)

    "Q4_K_M" (NULL for an unknown number), and back, in any case; "Q4_K" means Q4_K_M, and so for Q3_K and Q5_K.
    hybrid_mix_at: all mixes, from the largest files to the smallest; false beyond the last. Thread-safe.""")

hybrid_mix_find = _function('hybrid_mix_find', c_bool, [c_char_p, POINTER(c_int)],
    """bool hybrid_mix_find(const char *name, hybrid_mix *mix)""")

hybrid_mix_at = _function('hybrid_mix_at', c_bool, [c_size_t, POINTER(c_int)],
    """bool hybrid_mix_at(size_t i, hybrid_mix *mix)""")

hybrid_quantize_type_for = _function('hybrid_quantize_type_for', c_int, [c_int, POINTER(hybrid_mix_model), c_char_p, c_int32, POINTER(c_uint64), c_int],
    """hybrid_type hybrid_quantize_type_for(hybrid_mix mix, const hybrid_mix_model *model, const char *name, int32_t n_dims, const uint64_t *ne, hybrid_type now)

    The type that a tensor with GGUF's name and sizes (ne[0] contiguous) gets in a mix; `now` for one that a mix leaves
    as it is (norms, biases, routers, positions). A row that the blocks of the wanted type do not divide gets another:
    Q2_K, Q3_K: Q4_0; Q4_K: Q5_0; Q5_K: Q5_1;
    Q6_K: Q8_0; and F16 when 32 does not divide it either. The same types as llama.cpp gives. Thread-safe.""")

hybrid_gguf_type_name = _function('hybrid_gguf_type_name', c_char_p, [c_int],
    """const char *hybrid_gguf_type_name(hybrid_gguf_type type)

    "u8", "string", "array"...; NULL for a number that is not a type. Thread-safe.""")

hybrid_gguf_tensor_type_name = _function('hybrid_gguf_tensor_type_name', c_char_p, [c_uint32],
    """const char *hybrid_gguf_tensor_type_name(uint32_t type_id)

    The name of a tensor's type_id: "Q4_K", also of types that hybrid cannot run ("IQ3_S"); "unknown" for other
    numbers. Thread-safe.""")

hybrid_gguf_open = _function('hybrid_gguf_open', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_source), POINTER(POINTER(hybrid_gguf)), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_open(hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf, hybrid_error *error)

    Opens and checks a file. runtime may be NULL. A path is mapped where the system can; the bytes of a memory source
    must outlive the gguf; a reader is asked for a few large blocks and closed by hybrid_gguf_destroy (or at once on
    failure).
    A model that was split ("NAME-00001-of-00003.gguf"): the path of any part is enough, the others are found beside it
    by their names;
    otherwise give all parts, in any order, as source->parts. It then looks as if it had never been split: the keys and
    tensors of all parts, without the keys that say how it was cut (split.no, split.count, split.tensors.count).
    HYBRID_ERROR_FORMAT: no GGUF, truncated or damaged (error->offset says where), or parts of different models.
    HYBRID_ERROR_NOT_FOUND:
    a part was not given. HYBRID_ERROR_UNSUPPORTED: version 1, big-endian. HYBRID_ERROR_LIMIT, _MEMORY, _IO, _INVALID.
    Thread-safe. An open gguf never changes: any number of threads may look into it; hybrid_gguf_read_tensor is for
    one at a time.""")

hybrid_gguf_destroy = _function('hybrid_gguf_destroy', None, [POINTER(hybrid_gguf)],
    """void hybrid_gguf_destroy(hybrid_gguf *gguf)""")

hybrid_gguf_version = _function('hybrid_gguf_version', c_int32, [POINTER(hybrid_gguf)],
    """int32_t hybrid_gguf_version(const hybrid_gguf *gguf)

    2 or 3""")

hybrid_gguf_file_size = _function('hybrid_gguf_file_size', c_uint64, [POINTER(hybrid_gguf)],
    """uint64_t hybrid_gguf_file_size(const hybrid_gguf *gguf)

    bytes, of all parts""")

hybrid_gguf_part_count = _function('hybrid_gguf_part_count', c_size_t, [POINTER(hybrid_gguf)],
    """size_t hybrid_gguf_part_count(const hybrid_gguf *gguf)

    files: 1, or those of a model that was split""")

hybrid_gguf_part_size = _function('hybrid_gguf_part_size', c_uint64, [POINTER(hybrid_gguf), c_size_t],
    """uint64_t hybrid_gguf_part_size(const hybrid_gguf *gguf, size_t i)

    bytes of one; 0 beyond the last""")

hybrid_gguf_alignment = _function('hybrid_gguf_alignment', c_uint64, [POINTER(hybrid_gguf)],
    """uint64_t hybrid_gguf_alignment(const hybrid_gguf *gguf)

    of every tensor's offset: general.alignment, else 32""")

hybrid_gguf_key_count = _function('hybrid_gguf_key_count', c_size_t, [POINTER(hybrid_gguf)],
    """size_t hybrid_gguf_key_count(const hybrid_gguf *gguf)

    Keys in the order of the file: the name, and (when value is not NULL) the value. An empty name beyond the last.""")

hybrid_gguf_key = _function('hybrid_gguf_key', hybrid_string, [POINTER(hybrid_gguf), c_size_t, POINTER(hybrid_gguf_value)],
    """hybrid_string hybrid_gguf_key(const hybrid_gguf *gguf, size_t i, hybrid_gguf_value *value)""")

hybrid_gguf_find = _function('hybrid_gguf_find', c_bool, [POINTER(hybrid_gguf), c_char_p, POINTER(hybrid_gguf_value)],
    """bool hybrid_gguf_find(const hybrid_gguf *gguf, const char *key, hybrid_gguf_value *value)

    By name, hashed. false when the key is absent or its value is of another kind (out then stays as it is: set your
    default before).
    i64 takes every integer and bool that fits; f64 takes every number. value may be NULL.""")

hybrid_gguf_get_i64 = _function('hybrid_gguf_get_i64', c_bool, [POINTER(hybrid_gguf), c_char_p, POINTER(c_int64)],
    """bool hybrid_gguf_get_i64(const hybrid_gguf *gguf, const char *key, int64_t *out)""")

hybrid_gguf_get_f64 = _function('hybrid_gguf_get_f64', c_bool, [POINTER(hybrid_gguf), c_char_p, POINTER(c_double)],
    """bool hybrid_gguf_get_f64(const hybrid_gguf *gguf, const char *key, double *out)""")

hybrid_gguf_get_string = _function('hybrid_gguf_get_string', c_bool, [POINTER(hybrid_gguf), c_char_p, POINTER(hybrid_string)],
    """bool hybrid_gguf_get_string(const hybrid_gguf *gguf, const char *key, hybrid_string *out)""")

hybrid_gguf_item_string = _function('hybrid_gguf_item_string', hybrid_string, [POINTER(hybrid_gguf_value), c_uint64],
    """hybrid_string hybrid_gguf_item_string(const hybrid_gguf_value *value, uint64_t i)

    Item i of a value, in constant time. Zero or empty when i is out of range or the item is of another kind; i64 takes
    integers and bools, f64 every number. Items of an array of arrays are values themselves.""")

hybrid_gguf_item_i64 = _function('hybrid_gguf_item_i64', c_int64, [POINTER(hybrid_gguf_value), c_uint64],
    """int64_t hybrid_gguf_item_i64(const hybrid_gguf_value *value, uint64_t i)""")

hybrid_gguf_item_f64 = _function('hybrid_gguf_item_f64', c_double, [POINTER(hybrid_gguf_value), c_uint64],
    """double hybrid_gguf_item_f64(const hybrid_gguf_value *value, uint64_t i)""")

hybrid_gguf_item_array = _function('hybrid_gguf_item_array', c_bool, [POINTER(hybrid_gguf_value), c_uint64, POINTER(hybrid_gguf_value)],
    """bool hybrid_gguf_item_array(const hybrid_gguf_value *value, uint64_t i, hybrid_gguf_value *item)""")

hybrid_gguf_tensor_count = _function('hybrid_gguf_tensor_count', c_size_t, [POINTER(hybrid_gguf)],
    """size_t hybrid_gguf_tensor_count(const hybrid_gguf *gguf)

    Tensors in the order of the file, and by name (hashed); NULL when there is none.""")

hybrid_gguf_tensor_at = _function('hybrid_gguf_tensor_at', POINTER(hybrid_gguf_tensor), [POINTER(hybrid_gguf), c_size_t],
    """const hybrid_gguf_tensor *hybrid_gguf_tensor_at(const hybrid_gguf *gguf, size_t i)""")

hybrid_gguf_find_tensor = _function('hybrid_gguf_find_tensor', POINTER(hybrid_gguf_tensor), [POINTER(hybrid_gguf), c_char_p],
    """const hybrid_gguf_tensor *hybrid_gguf_find_tensor(const hybrid_gguf *gguf, const char *name)""")

hybrid_gguf_read_tensor = _function('hybrid_gguf_read_tensor', c_int, [POINTER(hybrid_gguf), POINTER(hybrid_gguf_tensor), c_void_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_read_tensor(hybrid_gguf *gguf, const hybrid_gguf_tensor *tensor, void *dst, hybrid_error *error)

    Copies all bytes of a tensor of this gguf to dst (tensor->size bytes). HYBRID_ERROR_IO, or _UNSUPPORTED for an
    unknown type.""")

hybrid_gguf_writer_create = _function('hybrid_gguf_writer_create', c_int, [POINTER(hybrid_runtime), POINTER(POINTER(hybrid_gguf_writer)), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_writer_create(hybrid_runtime *runtime, hybrid_gguf_writer **writer, hybrid_error *error)

    runtime may be NULL. Destroying a writer that has begun a path and not ended removes the unfinished file.""")

hybrid_gguf_writer_destroy = _function('hybrid_gguf_writer_destroy', None, [POINTER(hybrid_gguf_writer)],
    """void hybrid_gguf_writer_destroy(hybrid_gguf_writer *writer)""")

hybrid_gguf_set = _function('hybrid_gguf_set', c_int, [POINTER(hybrid_gguf_writer), c_char_p, POINTER(hybrid_gguf_value), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set(hybrid_gguf_writer *writer, const char *key, const hybrid_gguf_value *value, hybrid_error *error)

    A key and its value, which are copied; an earlier value of the key is replaced in its place. HYBRID_ERROR_INVALID,
    _LIMIT, _MEMORY.
    set: any value, as a reader gives it or made by hand (index may be NULL). set_int: type is an integer or bool, and
    the value fits.
    set_float: type is F32 or F64. set_numbers: count items of a number type, packed. set_arrays: count values that
    are arrays.""")

hybrid_gguf_set_int = _function('hybrid_gguf_set_int', c_int, [POINTER(hybrid_gguf_writer), c_char_p, c_int, c_int64, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_int(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type, int64_t value, hybrid_error *error)""")

hybrid_gguf_set_float = _function('hybrid_gguf_set_float', c_int, [POINTER(hybrid_gguf_writer), c_char_p, c_int, c_double, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_float(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type, double value, hybrid_error *error)""")

hybrid_gguf_set_string = _function('hybrid_gguf_set_string', c_int, [POINTER(hybrid_gguf_writer), c_char_p, c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_string(hybrid_gguf_writer *writer, const char *key, const char *text, hybrid_error *error)""")

hybrid_gguf_set_numbers = _function('hybrid_gguf_set_numbers', c_int, [POINTER(hybrid_gguf_writer), c_char_p, c_int, c_void_p, c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_numbers(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type item_type, const void *items, size_t count, hybrid_error *error)""")

hybrid_gguf_set_strings = _function('hybrid_gguf_set_strings', c_int, [POINTER(hybrid_gguf_writer), c_char_p, POINTER(hybrid_string), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_strings(hybrid_gguf_writer *writer, const char *key, const hybrid_string *items, size_t count, hybrid_error *error)""")

hybrid_gguf_set_arrays = _function('hybrid_gguf_set_arrays', c_int, [POINTER(hybrid_gguf_writer), c_char_p, POINTER(hybrid_gguf_value), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_set_arrays(hybrid_gguf_writer *writer, const char *key, const hybrid_gguf_value *items, size_t count, hybrid_error *error)""")

hybrid_gguf_copy_keys = _function('hybrid_gguf_copy_keys', c_int, [POINTER(hybrid_gguf_writer), POINTER(hybrid_gguf), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_copy_keys(hybrid_gguf_writer *writer, const hybrid_gguf *from, hybrid_error *error)

    Sets every key of an open file.""")

hybrid_gguf_add_tensor = _function('hybrid_gguf_add_tensor', c_int, [POINTER(hybrid_gguf_writer), c_char_p, c_int, c_int32, POINTER(c_uint64), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_add_tensor(hybrid_gguf_writer *writer, const char *name, hybrid_type type, int32_t n_dims, const uint64_t *ne, hybrid_error *error)

    Announces a tensor with n_dims (0..4) sizes ne, the contiguous one first. llama.cpp reads names of at most 63
    bytes.""")

hybrid_gguf_begin = _function('hybrid_gguf_begin', c_int, [POINTER(hybrid_gguf_writer), hybrid_write_fn, c_void_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_begin(hybrid_gguf_writer *writer, hybrid_write_fn write, void *user, hybrid_error *error)

    Writes everything before the tensors' data: to a callback, or to a file, which has a temporary name beside path until
    end.
    When writing fails, what was at path is still there. A symbolic link is followed, and stays; a file that is there
    keeps its mode, owner and other names; a device or a pipe is written into (a pipe waits for its reader).
    HYBRID_ERROR_IO: a folder, or a file that may not be written.
    Where it fails before a byte went out (a bad alignment, a path that cannot be had), writing has not begun: set it
    right and begin again.""")

hybrid_gguf_begin_path = _function('hybrid_gguf_begin_path', c_int, [POINTER(hybrid_gguf_writer), c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_begin_path(hybrid_gguf_writer *writer, const char *path, hybrid_error *error)""")

hybrid_gguf_write = _function('hybrid_gguf_write', c_int, [POINTER(hybrid_gguf_writer), c_void_p, c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_write(hybrid_gguf_writer *writer, const void *data, size_t n, hybrid_error *error)

    The next n bytes of the current tensor: a whole one or a piece, not beyond its end (HYBRID_ERROR_INVALID). Padding is
    added. Bytes that went out cannot be taken back: once a callback or a disk has refused some, every further call
    gives the same HYBRID_ERROR_IO.""")

hybrid_gguf_end = _function('hybrid_gguf_end', c_int, [POINTER(hybrid_gguf_writer), POINTER(hybrid_error)],
    """hybrid_result hybrid_gguf_end(hybrid_gguf_writer *writer, hybrid_error *error)

    Checks that all tensors are complete, and gives a file its name, replacing what was there.""")

hybrid_tokenizer_create = _function('hybrid_tokenizer_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_tokenizer_desc), POINTER(POINTER(hybrid_tokenizer)), POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenizer_create(hybrid_runtime *runtime, const hybrid_tokenizer_desc *desc, hybrid_tokenizer **tokenizer, hybrid_error *error)

    Makes a tokenizer from a vocabulary in memory, or from the tokenizer.ggml.* keys of a file (which may be closed
    then). runtime may be NULL. What a file leaves out is taken as llama.cpp takes it, and the log says so; without
    tokenizer.ggml.pre that is "default" (but GPT-2's and GPT-NeoX's own rules for those architectures), and a warning.
    HYBRID_ERROR_UNSUPPORTED: a model or pre-tokenizer that hybrid does not have (Unigram...);
    HYBRID_ERROR_FORMAT: tables that contradict each other; HYBRID_ERROR_NOT_FOUND: no vocabulary in the file;
    HYBRID_ERROR_MEMORY, _INVALID, _LIMIT.""")

hybrid_tokenizer_from_gguf = _function('hybrid_tokenizer_from_gguf', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_gguf), POINTER(POINTER(hybrid_tokenizer)), POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenizer_from_gguf(hybrid_runtime *runtime, const hybrid_gguf *gguf, hybrid_tokenizer **tokenizer, hybrid_error *error)""")

hybrid_tokenizer_destroy = _function('hybrid_tokenizer_destroy', None, [POINTER(hybrid_tokenizer)],
    """void hybrid_tokenizer_destroy(hybrid_tokenizer *tokenizer)""")

hybrid_tokenizer_to_gguf = _function('hybrid_tokenizer_to_gguf', c_int, [POINTER(hybrid_tokenizer), POINTER(hybrid_gguf_writer), POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenizer_to_gguf(const hybrid_tokenizer *tokenizer, hybrid_gguf_writer *writer, hybrid_error *error)

    Sets the keys tokenizer.ggml.* from which hybrid_tokenizer_from_gguf makes the same tokenizer again; keys of the
    writer that it has no words for stay. Byte-level BPE only (with merges): HYBRID_ERROR_UNSUPPORTED; _INVALID, _LIMIT,
    _MEMORY.""")

hybrid_tokenizer_write = _function('hybrid_tokenizer_write', c_int, [POINTER(hybrid_tokenizer), c_int, hybrid_write_fn, c_void_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenizer_write(const hybrid_tokenizer *tokenizer, hybrid_tokenizer_text what, hybrid_write_fn write, void *user, hybrid_error *error)

    The same for tools that read GPT-2's two files, HF tokenizers among them. HYBRID_ERROR_UNSUPPORTED: not byte-level
    BPE with merges; HYBRID_ERROR_IO: write returned false; _INVALID, _MEMORY.""")

hybrid_tokenize = _function('hybrid_tokenize', c_int, [POINTER(hybrid_tokenizer), c_char_p, c_size_t, c_uint, POINTER(c_int32), c_size_t, POINTER(c_size_t), POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenize(const hybrid_tokenizer *tokenizer, const char *text, size_t size, unsigned flags, int32_t *ids, size_t capacity, size_t *n, hybrid_error *error)

    size bytes of text to ids. *n is the number of tokens of the whole text, also when it is more than capacity: then the
    result is HYBRID_ERROR_LIMIT, the first capacity ids are there, and nothing else is written (ids may be NULL when
    capacity is 0).
    3 * size + 3 ids are always enough, size + 2 for rwkv and for bpe without normalization. The time grows
    with the text, whatever the vocabulary. HYBRID_ERROR_MEMORY, _INVALID. Thread-safe.""")

hybrid_tokenize_spans = _function('hybrid_tokenize_spans', c_int, [POINTER(hybrid_tokenizer), c_char_p, c_size_t, POINTER(hybrid_span), c_size_t, c_uint, POINTER(c_int32), c_size_t, POINTER(c_size_t), POINTER(hybrid_error)],
    """hybrid_result hybrid_tokenize_spans(const hybrid_tokenizer *tokenizer, const char *text, size_t size, const hybrid_span *spans, size_t n_spans, unsigned flags, int32_t *ids, size_t capacity, size_t *n, hybrid_error *error)

    hybrid_tokenize of a text with more than one author: control tokens that are spelled out become tokens where all of
    their bytes lie in one of the n_spans spans (begin < end, in their order, apart from each other: what
    hybrid_text.own holds), and are letters elsewhere, whatever flags says of HYBRID_TOKENIZE_PARSE_SPECIAL. User-defined
    tokens are text and found everywhere, but those that are written as control tokens are ("<|user|>",
    "<start_of_turn>"; files are not at one about their type) count as such here. Where no token is spelled out by a
    stranger, the ids are those of HYBRID_TOKENIZE_PARSE_SPECIAL. Errors and sizes: as hybrid_tokenize; INVALID also:
    spans that are none. Thread-safe.""")

hybrid_detokenize = _function('hybrid_detokenize', c_int, [POINTER(hybrid_tokenizer), POINTER(c_int32), c_size_t, c_uint, c_char_p, c_size_t, POINTER(c_size_t), POINTER(hybrid_error)],
    """hybrid_result hybrid_detokenize(const hybrid_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, unsigned flags, char *text, size_t capacity, size_t *size, hybrid_error *error)

    n ids to text, the space that spm put before the first word taken away again; normalized text stays so. Sizes as in
    hybrid_tokenize; no zero is appended. HYBRID_ERROR_INVALID: an id is negative; ids beyond the vocabulary (rows that a
    model was padded with) are nothing. Thread-safe.""")

hybrid_token_bytes = _function('hybrid_token_bytes', hybrid_string, [POINTER(hybrid_tokenizer), c_int32],
    """hybrid_string hybrid_token_bytes(const hybrid_tokenizer *tokenizer, int32_t id)

    The bytes that a token stands for (a control token: its name), in constant time; perhaps not whole characters, see
    hybrid_utf8_feed.
    Empty for an id out of range. They live as long as the tokenizer.""")

hybrid_token_kind = _function('hybrid_token_kind', c_int, [POINTER(hybrid_tokenizer), c_int32],
    """hybrid_token_type hybrid_token_kind(const hybrid_tokenizer *tokenizer, int32_t id)

    HYBRID_TOKEN_UNUSED out of range""")

hybrid_token_is_end = _function('hybrid_token_is_end', c_bool, [POINTER(hybrid_tokenizer), c_int32],
    """bool hybrid_token_is_end(const hybrid_tokenizer *tokenizer, int32_t id)

    generation ends here: EOS, <|im_end|>, <|eot_id|>...""")

hybrid_token_role_id = _function('hybrid_token_role_id', c_int32, [POINTER(hybrid_tokenizer), c_int],
    """int32_t hybrid_token_role_id(const hybrid_tokenizer *tokenizer, hybrid_token_role role)

    -1: there is none""")

hybrid_token_find = _function('hybrid_token_find', c_int32, [POINTER(hybrid_tokenizer), c_char_p, c_size_t],
    """int32_t hybrid_token_find(const hybrid_tokenizer *tokenizer, const char *bytes, size_t size)

    by its bytes; -1""")

hybrid_vocab_size = _function('hybrid_vocab_size', c_int32, [POINTER(hybrid_tokenizer)],
    """int32_t hybrid_vocab_size(const hybrid_tokenizer *tokenizer)

    tokens; a model may have more rows""")

hybrid_tokenizer_adds_bos = _function('hybrid_tokenizer_adds_bos', c_bool, [POINTER(hybrid_tokenizer)],
    """bool hybrid_tokenizer_adds_bos(const hybrid_tokenizer *tokenizer)""")

hybrid_tokenizer_adds_eos = _function('hybrid_tokenizer_adds_eos', c_bool, [POINTER(hybrid_tokenizer)],
    """bool hybrid_tokenizer_adds_eos(const hybrid_tokenizer *tokenizer)""")

hybrid_utf8_feed = _function('hybrid_utf8_feed', c_size_t, [POINTER(hybrid_utf8_stream), c_void_p, c_size_t, c_char_p],
    """size_t hybrid_utf8_feed(hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out)

    Whole characters of what was fed so far go to out (at least HYBRID_UTF8_ROOM(size) bytes); bytes that are not UTF-8
    become U+FFFD, one for each maximal part as Unicode recommends. However the bytes are cut, the output is the same.
    Returns the bytes written.""")

hybrid_utf8_flush = _function('hybrid_utf8_flush', c_size_t, [POINTER(hybrid_utf8_stream), c_char_p],
    """size_t hybrid_utf8_flush(hybrid_utf8_stream *stream, char *out)

    The end: an unfinished character becomes U+FFFD. At most 9 bytes. The stream is then at its beginning.""")

hybrid_stop_matcher_create = _function('hybrid_stop_matcher_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_string), c_size_t, POINTER(POINTER(hybrid_stop_matcher)), POINTER(hybrid_error)],
    """hybrid_result hybrid_stop_matcher_create(hybrid_runtime *runtime, const hybrid_string *stops, size_t n_stops, hybrid_stop_matcher **matcher, hybrid_error *error)

    n_stops strings of at least one byte, copied. With none, everything fed is given at once. runtime may be NULL.""")

hybrid_stop_matcher_destroy = _function('hybrid_stop_matcher_destroy', None, [POINTER(hybrid_stop_matcher)],
    """void hybrid_stop_matcher_destroy(hybrid_stop_matcher *matcher)""")

hybrid_stop_matcher_feed = _function('hybrid_stop_matcher_feed', c_int, [POINTER(hybrid_stop_matcher), c_void_p, c_size_t, POINTER(hybrid_string), POINTER(c_int32), POINTER(hybrid_error)],
    """hybrid_result hybrid_stop_matcher_feed(hybrid_stop_matcher *matcher, const void *bytes, size_t size, hybrid_string *safe, int32_t *which, hybrid_error *error)

    Feeds bytes. *safe: what can be shown now because no stop string can begin in it (until the next call). *which: the
    stop string that is complete (of those that end first the longest), or -1; what stood before it is in *safe, and
    nothing more comes until reset.
    HYBRID_ERROR_MEMORY: nothing was fed.""")

hybrid_stop_matcher_flush = _function('hybrid_stop_matcher_flush', hybrid_string, [POINTER(hybrid_stop_matcher)],
    """hybrid_string hybrid_stop_matcher_flush(hybrid_stop_matcher *matcher)

    The end came otherwise: gives what was held back.""")

hybrid_stop_matcher_reset = _function('hybrid_stop_matcher_reset', None, [POINTER(hybrid_stop_matcher)],
    """void hybrid_stop_matcher_reset(hybrid_stop_matcher *matcher)""")

hybrid_text_free = _function('hybrid_text_free', None, [POINTER(hybrid_text)],
    """void hybrid_text_free(hybrid_text *text)

    Gives the memory back and makes text zero again. NULL is fine.""")

hybrid_template_create = _function('hybrid_template_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_template_desc), POINTER(POINTER(hybrid_template)), POINTER(hybrid_error)],
    """hybrid_result hybrid_template_create(hybrid_runtime *runtime, const hybrid_template_desc *desc, hybrid_template **tmpl, hybrid_error *error)

    Parses a template; desc may be NULL. Errors: INVALID, FORMAT (the template is wrong: line and column), UNSUPPORTED (a
    tag that chat templates do not have), LIMIT (too large, or some hundred brackets or blocks in each other), MEMORY. A
    template is not changed by rendering: several threads may use one at a time.""")

hybrid_template_destroy = _function('hybrid_template_destroy', None, [POINTER(hybrid_template)],
    """void hybrid_template_destroy(hybrid_template *tmpl)""")

hybrid_template_render = _function('hybrid_template_render', c_int, [POINTER(hybrid_template), POINTER(hybrid_render_desc), POINTER(hybrid_text), POINTER(hybrid_error)],
    """hybrid_result hybrid_template_render(const hybrid_template *tmpl, const hybrid_render_desc *desc, hybrid_text *out, hybrid_error *error)

    Renders a template with any variables (for conversations hybrid_chat_render is easier). desc may be NULL.
    Errors: INVALID (also: the template called raise_exception; the message holds its words), FORMAT (an operation that
    makes no sense, say a sum of text and a number; or context is not a JSON object), UNSUPPORTED (an unknown filter or
    test), LIMIT, MEMORY.""")

hybrid_chat_render = _function('hybrid_chat_render', c_int, [POINTER(hybrid_template), POINTER(hybrid_chat_message), c_size_t, POINTER(hybrid_chat_desc), POINTER(hybrid_text), POINTER(hybrid_error)],
    """hybrid_result hybrid_chat_render(const hybrid_template *tmpl, const hybrid_chat_message *messages, size_t n, const hybrid_chat_desc *desc, hybrid_text *out, hybrid_error *error)

    Makes the prompt of a conversation, with the variables that transformers' apply_chat_template gives: messages, tools,
    documents (None), add_generation_prompt, the special tokens. As there, members of a message that are null are not
    passed on, and what was thought ("reasoning_content", "thinking" or "reasoning") is passed on as "reasoning_content"
    and "thinking". The text holds the special tokens in writing (often bos_token first): hybrid_tokenize_spans makes
    tokens of those that out->own covers; hybrid_tokenize with HYBRID_TOKENIZE_PARSE_SPECIAL, as transformers does it, of
    all, those in the words of strangers included. Add none. n may be 0; desc may be NULL. Errors: as
    hybrid_template_render.""")

hybrid_grammar_create = _function('hybrid_grammar_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_grammar_desc), POINTER(POINTER(hybrid_grammar)), POINTER(hybrid_error)],
    """hybrid_result hybrid_grammar_create(hybrid_runtime *runtime, const hybrid_grammar_desc *desc, hybrid_grammar **grammar, hybrid_error *error)

    runtime may be NULL. Errors: FORMAT (the text is wrong: the sentence names the line or the place in the schema,
    offset the byte; or no text can be one of the grammar), UNSUPPORTED (a keyword, see above), LIMIT (more than 262144
    positions when all repetitions are written out, or too many ways to fit a schema), MEMORY, INVALID. A grammar is not
    changed by its matchers: several threads may use it at a time. It must outlive them.""")

hybrid_grammar_destroy = _function('hybrid_grammar_destroy', None, [POINTER(hybrid_grammar)],
    """void hybrid_grammar_destroy(hybrid_grammar *grammar)""")

hybrid_matcher_create = _function('hybrid_matcher_create', c_int, [POINTER(hybrid_grammar), POINTER(POINTER(hybrid_matcher)), POINTER(hybrid_error)],
    """hybrid_result hybrid_matcher_create(const hybrid_grammar *grammar, hybrid_matcher **matcher, hybrid_error *error)

    A matcher at the beginning of a text. One thread at a time. It takes at most 32 MB, and for masks at most 32 times 16
    kB and a bit for each token of the vocabulary (1.1 MB for 152,000 tokens), however long the text gets
    (8192 states with a place for each of 256 bytes, 524288 pairs of
    positions, and what one step needs): what it keeps grows with how deep the text nests, and with how many ways there
    are to read it, not with its length. Then it forgets what it can compute again, or says LIMIT.""")

hybrid_matcher_destroy = _function('hybrid_matcher_destroy', None, [POINTER(hybrid_matcher)],
    """void hybrid_matcher_destroy(hybrid_matcher *matcher)""")

hybrid_matcher_accept = _function('hybrid_matcher_accept', c_int, [POINTER(hybrid_matcher), c_void_p, c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_matcher_accept(hybrid_matcher *matcher, const void *bytes, size_t size, hybrid_error *error)

    The text goes on with these bytes. FORMAT: it may not (offset: the first byte that does not fit); LIMIT: the text
    nests too deep, or can be read in too many ways at once; MEMORY; INVALID. Then nothing has changed.""")

hybrid_matcher_can_end = _function('hybrid_matcher_can_end', c_bool, [POINTER(hybrid_matcher)],
    """bool hybrid_matcher_can_end(const hybrid_matcher *matcher)

    Whether the text may end here.""")

hybrid_matcher_forced = _function('hybrid_matcher_forced', c_size_t, [POINTER(hybrid_matcher), c_char_p, c_size_t],
    """size_t hybrid_matcher_forced(hybrid_matcher *matcher, char *text, size_t capacity)

    The bytes that must come next, as far as there is no choice, into text (capacity bytes). Returns their number: 0
    where there is a choice, where the text may end, or where memory is short.""")

hybrid_lexicon_create = _function('hybrid_lexicon_create', c_int, [POINTER(hybrid_tokenizer), POINTER(POINTER(hybrid_lexicon)), POINTER(hybrid_error)],
    """hybrid_result hybrid_lexicon_create(const hybrid_tokenizer *tokenizer, hybrid_lexicon **lexicon, hybrid_error *error)""")

hybrid_lexicon_destroy = _function('hybrid_lexicon_destroy', None, [POINTER(hybrid_lexicon)],
    """void hybrid_lexicon_destroy(hybrid_lexicon *lexicon)""")

hybrid_matcher_mask = _function('hybrid_matcher_mask', c_int, [POINTER(hybrid_matcher), POINTER(hybrid_lexicon), POINTER(POINTER(c_uint32)), POINTER(c_size_t), POINTER(hybrid_error)],
    """hybrid_result hybrid_matcher_mask(hybrid_matcher *matcher, const hybrid_lexicon *lexicon, const uint32_t **mask, size_t *n_words, hybrid_error *error)

    The tokens that the text may go on with: bit id % 32 of (*mask)[id / 32]; *n_words words, valid until the next call
    for this matcher. Tokens that end an answer are among them exactly where the text may end; other control tokens only
    before a trigger. 32 masks are kept, and places of a grammar that allow the same tokens share one: most calls find
    theirs. A new one takes some tens of us, and 0.5 to 1 ms where letters matter one by one in long texts
    ([^aeiou]{1,100}; the worst that was found: 2 ms; times for 152,000 tokens, 3 GHz). Errors: LIMIT, as
    hybrid_matcher_accept; MEMORY; INVALID.""")

hybrid_matcher_accept_token = _function('hybrid_matcher_accept_token', c_int, [POINTER(hybrid_matcher), POINTER(hybrid_lexicon), c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_matcher_accept_token(hybrid_matcher *matcher, const hybrid_lexicon *lexicon, int32_t id, hybrid_error *error)

    hybrid_matcher_accept with the bytes of a token. One that ends an answer is accepted where the text may end, and
    changes nothing.""")

hybrid_matcher_reset = _function('hybrid_matcher_reset', None, [POINTER(hybrid_matcher)],
    """void hybrid_matcher_reset(hybrid_matcher *matcher)

    Back to the beginning of a text.""")

hybrid_bpe_train = _function('hybrid_bpe_train', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_bpe_desc), POINTER(POINTER(hybrid_tokenizer)), POINTER(hybrid_bpe_info), POINTER(hybrid_error)],
    """hybrid_result hybrid_bpe_train(hybrid_runtime *runtime, const hybrid_bpe_desc *desc, hybrid_tokenizer **tokenizer, hybrid_bpe_info *info, hybrid_error *error)

    Trains a tokenizer, on the calling thread. runtime and info may be NULL. The result depends on nothing but the texts
    and desc.

    Memory, in bytes: the longest document of a file (twice while it is read in; texts in memory lie where they are); 21
    for each byte of the different words, up to 60 for each different word, 40 for each different pair of neighbours and
    each token, and twice as much for short while an array grows; and at last three times the text of all tokens. That
    can be much where min_frequency is 1 and words are long, because a token may then grow by a byte at every merge:
    max_token_bytes bounds it. Normalizing pre-tokenizers take three times the longest document more, which max_bytes
    does not know. Time: proportional to the texts, and n log n in the bytes of the different words, whatever the texts
    are.

    HYBRID_ERROR_INVALID: no texts, vocab_size less than the special tokens and 256, special tokens as above;
    HYBRID_ERROR_UNSUPPORTED: the pre-tokenizer; HYBRID_ERROR_LIMIT: more than 2 GiB of different words, max_bytes;
    HYBRID_ERROR_CANCELLED, _IO, _MEMORY.""")

hybrid_data_create = _function('hybrid_data_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_data_desc), POINTER(POINTER(hybrid_data)), POINTER(hybrid_error)],
    """hybrid_result hybrid_data_create(hybrid_runtime *runtime, const hybrid_data_desc *desc, hybrid_data **data, hybrid_error *error)

    Reads texts and conversations into tokens; looks through token files once. runtime may be NULL. Memory: 2 bytes a
    token of texts and conversations (4, where the vocabulary has more than 65536), 24 to 32 a document, and the longest
    document while it is read.
    HYBRID_ERROR_FORMAT: an id that the vocabulary does not have, half a token, a bad line, no target for training or for
    the validation that was asked for; HYBRID_ERROR_INVALID, _UNSUPPORTED, _LIMIT, _CANCELLED, _IO, _MEMORY.""")

hybrid_data_destroy = _function('hybrid_data_destroy', None, [POINTER(hybrid_data)],
    """void hybrid_data_destroy(hybrid_data *data)""")

hybrid_data_describe = _function('hybrid_data_describe', None, [POINTER(hybrid_data), POINTER(hybrid_data_info)],
    """void hybrid_data_describe(const hybrid_data *data, hybrid_data_info *info)""")

hybrid_data_next = _function('hybrid_data_next', c_int, [POINTER(hybrid_data), c_int32, POINTER(c_int32), POINTER(c_int32), POINTER(hybrid_error)],
    """hybrid_result hybrid_data_next(hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets, hybrid_error *error)

    The next n_windows windows, for training: ids and targets are (n_windows, n_ctx), targets that are not counted -1.
    Where an epoch ends, the next one begins, in another order. The same seed and position give the same windows, on
    every machine. One thread at a time. HYBRID_ERROR_IO, _FORMAT: a token file is not what it was; then nothing was
    taken. HYBRID_ERROR_INVALID.""")

hybrid_data_next_weighted = _function('hybrid_data_next_weighted', c_int, [POINTER(hybrid_data), c_int32, POINTER(c_int32), POINTER(c_int32), POINTER(c_float), POINTER(hybrid_error)],
    """hybrid_result hybrid_data_next_weighted(hybrid_data *data, int32_t n_windows, int32_t *ids, int32_t *targets, float *weights, hybrid_error *error)

    The same, and weights (n_windows, n_ctx): what each target counts, for hybrid_train_batch: the "weight" of its
    message, 1 where that says nothing, 0 where the target is not counted.""")

hybrid_data_where = _function('hybrid_data_where', hybrid_data_position, [POINTER(hybrid_data)],
    """hybrid_data_position hybrid_data_where(const hybrid_data *data)""")

hybrid_data_seek = _function('hybrid_data_seek', c_int, [POINTER(hybrid_data), hybrid_data_position, POINTER(hybrid_error)],
    """hybrid_result hybrid_data_seek(hybrid_data *data, hybrid_data_position position, hybrid_error *error)

    HYBRID_ERROR_INVALID: no epoch has such a window.""")

hybrid_data_validation = _function('hybrid_data_validation', c_int, [POINTER(hybrid_data), c_uint64, c_int32, POINTER(c_int32), POINTER(c_int32), POINTER(hybrid_error)],
    """hybrid_result hybrid_data_validation(hybrid_data *data, uint64_t first, int32_t n_windows, int32_t *ids, int32_t *targets, hybrid_error *error)

    Windows first to first + n_windows - 1 of those for validation, in their order. Errors as of hybrid_data_next.""")

hybrid_model_load = _function('hybrid_model_load', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_model_desc), POINTER(POINTER(hybrid_model)), POINTER(hybrid_error)],
    """hybrid_result hybrid_model_load(hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model, hybrid_error *error)

    Loads a model. runtime NULL: one of its own, with default settings. On failure *model is NULL and nothing is left
    behind.

    A model that is loaded computes with every tensor of its file and with every key of its architecture that changes
    logits; else it is refused (HYBRID_ERROR_UNSUPPORTED) by the name of the tensor or key. What may be left out, since
    it changes nothing, is this; the log (INFO) names the tensors:
      tensors   without values; factors of rope that are all 1; frequencies of rope that are those of the keys
                (attn_rot_embd, rotary_emb.inv_freq); square masks and their single value that were kept from training
                (attn.bias, attn.masked_bias); the half of a model that sees (v.*, mm.*) beside keys <arch>.vision.*;
                what a checkpoint of a trainer holds beside the model (hybrid.*)
      keys      vocab_size, tensor_data_layout, rope.scaling.finetuned, classifier.output_labels, the
                epsilon of the other kind of norm, numbers of experts where there are none, vision.* and the like; and
                keys of other families at the value at which they change nothing (logit_scale 1, attention.causal true)
    Unknown keys of the architecture are refused when they are of a group that shapes the computation (attention.*,
    rope.*, expert*, ssm.*, *scale*, *norm*, ...); others are warned of in the log and taken for notes. Vectors (norms,
    biases) may be F32, F16 or BF16; the latter are converted while loading.
    A model is immutable: any number of contexts and threads may use it at a time.""")

hybrid_model_destroy = _function('hybrid_model_destroy', None, [POINTER(hybrid_model)],
    """void hybrid_model_destroy(hybrid_model *model)

    Contexts and sessions of the model must be destroyed before it.""")

hybrid_model_describe = _function('hybrid_model_describe', None, [POINTER(hybrid_model), POINTER(hybrid_model_info)],
    """void hybrid_model_describe(const hybrid_model *model, hybrid_model_info *info)""")

hybrid_model_gguf = _function('hybrid_model_gguf', POINTER(hybrid_gguf), [POINTER(hybrid_model)],
    """const hybrid_gguf *hybrid_model_gguf(const hybrid_model *model)

    Parts of the model, valid as long as it. The template is that of the file, or ChatML where the
    file has none but the vocabulary has its tokens; else NULL.""")

hybrid_model_runtime = _function('hybrid_model_runtime', POINTER(hybrid_runtime), [POINTER(hybrid_model)],
    """hybrid_runtime *hybrid_model_runtime(const hybrid_model *model)""")

hybrid_model_tokenizer = _function('hybrid_model_tokenizer', POINTER(hybrid_tokenizer), [POINTER(hybrid_model)],
    """const hybrid_tokenizer *hybrid_model_tokenizer(const hybrid_model *model)""")

hybrid_model_template = _function('hybrid_model_template', POINTER(hybrid_template), [POINTER(hybrid_model)],
    """const hybrid_template *hybrid_model_template(const hybrid_model *model)""")

hybrid_context_create = _function('hybrid_context_create', c_int, [POINTER(hybrid_model), POINTER(hybrid_context_desc), POINTER(POINTER(hybrid_context)), POINTER(hybrid_error)],
    """hybrid_result hybrid_context_create(hybrid_model *model, const hybrid_context_desc *desc, hybrid_context **context, hybrid_error *error)

    A context belongs to one thread at a time; several contexts of one model may run at once.""")

hybrid_context_destroy = _function('hybrid_context_destroy', None, [POINTER(hybrid_context)],
    """void hybrid_context_destroy(hybrid_context *context)""")

hybrid_context_describe = _function('hybrid_context_describe', None, [POINTER(hybrid_context), POINTER(hybrid_context_desc)],
    """void hybrid_context_describe(const hybrid_context *context, hybrid_context_desc *desc)

    The descriptor with every zero replaced by what is used.""")

hybrid_warmup = _function('hybrid_warmup', c_int, [POINTER(hybrid_context), hybrid_progress_fn, c_void_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_warmup(hybrid_context *context, hybrid_progress_fn progress, void *user, hybrid_error *error)

    With a GPU: compiles the kernels that this context can need, or takes them from the cache, so that the first decode
    does not wait for them (some seconds once per machine). progress may be NULL. On the CPU there is nothing to do.
    HYBRID_ERROR_DEVICE: kernels cannot be had; the context then runs on the CPU.""")

hybrid_batch_add = _function('hybrid_batch_add', c_int, [POINTER(hybrid_context), c_int32, POINTER(c_int32), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_batch_add(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, hybrid_error *error)

    Queues n tokens after the end of a sequence for the next decode; a mix of prompts and single tokens is fine. Copies
    ids.
    INVALID: a bad sequence or token id, or a sequence whose tokens in the batch are followed by another's.
    CONTEXT_FULL: more than n_ctx tokens queued. Nothing is queued on failure.""")

hybrid_batch_add_logits = _function('hybrid_batch_add_logits', c_int, [POINTER(hybrid_context), c_int32, POINTER(c_int32), c_size_t, c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_batch_add_logits(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, int32_t n_logits, hybrid_error *error)

    The same, keeping the logits of the last n_logits tokens instead of the last one (0: none). LIMIT: more rows than
    the descriptor's n_logits; INVALID: a negative number of them.""")

hybrid_batch_clear = _function('hybrid_batch_clear', None, [POINTER(hybrid_context)],
    """void hybrid_batch_clear(hybrid_context *context)

    Forgets what is queued.""")

hybrid_decode = _function('hybrid_decode', c_int, [POINTER(hybrid_context), POINTER(hybrid_error)],
    """hybrid_result hybrid_decode(hybrid_context *context, hybrid_error *error)

    Runs the queued tokens through the model. When it fails, the sequences are as they were and the batch stays queued
    (on CONTEXT_FULL remove something and call again, or clear it). Room is checked before anything is written; what can
    fail after that is a GPU, and then the memory for going on without it: logits of earlier decodes are gone in that
    case only.""")

hybrid_decode_step = _function('hybrid_decode_step', c_int, [POINTER(hybrid_context), c_uint64, POINTER(c_bool), POINTER(hybrid_error)],
    """hybrid_result hybrid_decode_step(hybrid_context *context, uint64_t budget_us, bool *done, hybrid_error *error)

    The same in slices: works for about budget_us microseconds (at least a part of an operation for each thread; a layer
    where a trace looks on), then returns OK with *done false; call again to go on. Until it is done, sequences are as
    before. hybrid_batch_clear gives up a decode that is under way; there are no logits then.
    On a GPU a chunk of n_batch tokens is the smallest slice, and a GPU that fails is made up for in one slice: choose
    a small n_batch there.""")

hybrid_logits = _function('hybrid_logits', POINTER(c_float), [POINTER(hybrid_context), c_int32],
    """const float *hybrid_logits(hybrid_context *context, int32_t seq)

    n_vocab logits of the sequence's last token in the last decode; NULL when it had none (or when a GPU failed that held
    them: the next decode goes on without it). Valid until the next decode.""")

hybrid_logits_at = _function('hybrid_logits_at', POINTER(c_float), [POINTER(hybrid_context), c_int32, c_int32],
    """const float *hybrid_logits_at(hybrid_context *context, int32_t seq, int32_t i)

    Row i of the rows that hybrid_batch_add_logits asked for.""")

hybrid_seq_length = _function('hybrid_seq_length', c_int32, [POINTER(hybrid_context), c_int32],
    """int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq)

    Tokens in a sequence (decoded ones); -1 for a bad id.""")

hybrid_seq_remove = _function('hybrid_seq_remove', c_int, [POINTER(hybrid_context), c_int32, c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_seq_remove(hybrid_context *context, int32_t seq, int32_t from, hybrid_error *error)

    Removes the tokens from position `from` to the end; from 0 empties the sequence. UNSUPPORTED: the model's state
    cannot be cut there, see hybrid_seq_back.""")

hybrid_seq_back = _function('hybrid_seq_back', c_int32, [POINTER(hybrid_context), c_int32, c_int32],
    """int32_t hybrid_seq_back(const hybrid_context *context, int32_t seq, int32_t from)

    The largest position up to `from` at which the sequence can be cut: from itself for most models. Models that carry a
    recurrent state from token to token (hybrid_model_info.is_recurrent) can be cut where the sequence ends, where it
    ended before its last decode (unless it was cut there since), and at 0. -1 for a bad id or a negative from.""")

hybrid_seq_fork = _function('hybrid_seq_fork', c_int, [POINTER(hybrid_context), c_int32, c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_seq_fork(hybrid_context *context, int32_t from, int32_t to, hybrid_error *error)

    Makes `to` a copy of `from`. The cache is shared until one of them writes: it costs one page at most.""")

hybrid_context_room = _function('hybrid_context_room', c_int32, [POINTER(hybrid_context)],
    """int32_t hybrid_context_room(const hybrid_context *context)

    Positions that could still be written, counted in whole pages.""")

hybrid_context_profile = _function('hybrid_context_profile', c_size_t, [POINTER(hybrid_context), c_char_p, c_size_t],
    """size_t hybrid_context_profile(const hybrid_context *context, char *text, size_t size)

    Where the time of the decodes went: a table of lines (op, calls, seconds, share, GB read and written, GB/s; the
    longest first), one for each device that layers run on. Fills text with its first size - 1 characters and a zero, and
    returns the length of the whole, as snprintf does. Only an implementation compiled with HYBRID_PROFILE counts: it
    waits for every op, and a GPU goes without graphs, so a decode is slower than without.
    Compiled without, it costs nothing, and the text is a sentence that says so. With HYBRID_PROFILE=2 every op is a line
    of the log, too (debug).

        char text[2048];
        hybrid_context_profile(context, text, sizeof text);
        puts(text);""")

hybrid_context_profile_reset = _function('hybrid_context_profile_reset', None, [POINTER(hybrid_context)],
    """void hybrid_context_profile_reset(hybrid_context *context)

    Counts from zero again.""")

hybrid_plan = _function('hybrid_plan', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_model_desc), POINTER(hybrid_context_desc), POINTER(hybrid_memory_plan), POINTER(hybrid_error)],
    """hybrid_result hybrid_plan(hybrid_runtime *runtime, const hybrid_model_desc *model, const hybrid_context_desc *context, hybrid_memory_plan *plan, hybrid_error *error)

    What loading the model and creating a context of it would allocate, without reading the weights. Equal to what is
    then used, apart from the runtime (a few KB), threads' stacks and, with a GPU, the pinned memory of its copies (up
    to 16 MB for loading, 8 MB a context). Grammars come on top: see hybrid_lexicon and hybrid_matcher_create.""")

hybrid_adapter_create = _function('hybrid_adapter_create', c_int, [POINTER(hybrid_model), POINTER(hybrid_adapter_desc), POINTER(POINTER(hybrid_adapter)), POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_create(hybrid_model *model, const hybrid_adapter_desc *desc, hybrid_adapter **adapter, hybrid_error *error)

    Makes an adapter that changes nothing yet: A as PEFT makes it (uniform between -1 and 1 over sqrt(k)), B zero. desc
    may be NULL. It belongs to the model, which must outlive it.
    HYBRID_ERROR_INVALID names the field, or the matrix that cannot be changed; HYBRID_ERROR_NOT_FOUND: no matrix has
    that name; HYBRID_ERROR_MEMORY, or _DEVICE, where the model is on a GPU.""")

hybrid_adapter_load = _function('hybrid_adapter_load', c_int, [POINTER(hybrid_model), POINTER(hybrid_source), POINTER(POINTER(hybrid_adapter)), POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_load(hybrid_model *model, const hybrid_source *source, hybrid_adapter **adapter, hybrid_error *error)

    Reads an adapter in the form of llama.cpp (convert_lora_to_gguf.py makes it of PEFT's): a GGUF whose general.type is
    "adapter", adapter.type "lora", with adapter.lora.alpha and tensors NAME.lora_a (k, rank) and NAME.lora_b (rank, out)
    for each matrix NAME of the model, of those of all experts (k, rank, n_expert) and (rank, out, n_expert), in F32,
    F16, BF16 or a block type (they become F32). Without alpha, or with 0, scale is 1. A reader is closed.
    HYBRID_ERROR_FORMAT names the tensor: not an adapter, or another model's, or damaged. _UNSUPPORTED: a kind of
    adapter, or of matrix, that hybrid does not have. _LIMIT: a rank above the maximum. _NUMERIC: a value is not finite.
    _INVALID, _IO, _MEMORY, _DEVICE.""")

hybrid_adapter_save = _function('hybrid_adapter_save', c_int, [POINTER(hybrid_adapter), c_char_p, c_int, POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_save(const hybrid_adapter *adapter, const char *path, hybrid_type type, hybrid_error *error)

    Writes the adapter in that form, as F32 (or F16: HYBRID_TYPE_F16), which llama.cpp and hybrid_adapter_load read. As
    with hybrid_gguf_begin_path, what is at path stays there when this fails.
    HYBRID_ERROR_INVALID, _NUMERIC (a value is not finite, or too large for F16), _IO, _MEMORY.""")

hybrid_adapter_merge = _function('hybrid_adapter_merge', c_int, [POINTER(hybrid_model), POINTER(POINTER(hybrid_adapter)), POINTER(c_float), c_size_t, c_char_p, c_int, POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_merge(hybrid_model *model, hybrid_adapter *const *adapters, const float *scales, size_t n, const char *path, hybrid_mix mix, hybrid_error *error)

    Writes the model with adapters in it, as a GGUF that any program runs: every matrix W becomes W plus the sum of its
    adapters' scale * B A, each times its factor of scales (NULL: 1 each); summed in double and rounded to float once,
    then stored in the types of a mix, as hybrid_trainer_export does it. HYBRID_MIX_F32 holds it exactly; a mix of few
    bits rounds away changes that are smaller than its steps, which a model that wears its adapters keeps. It needs
    memory for some rows, not for the model. The model and the adapters stay as they are.
    HYBRID_ERROR_INVALID, _LIMIT (more than HYBRID_SEQ_MAX_ADAPTERS), _NUMERIC, _IO, _MEMORY.""")

hybrid_adapter_set_type = _function('hybrid_adapter_set_type', c_int, [POINTER(hybrid_adapter), c_int, POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_set_type(hybrid_adapter *adapter, hybrid_type type, hybrid_error *error)

    The type in which sequences on the host read it: F32 (as it is), F16 or Q8_0; a decode step is longer by the bytes
    that are read, which are 4, 2 and 1 a value. Without this call an adapter is as exact as what it changes: F32 over
    matrices of F32; F16 over F16 and BF16; over block types, whose products round what they multiply to 8 bits, Q8_0.
    F16 rounds a value to 11 bits, and keeps those of F16 files; Q8_0 rounds to 8 bits below the largest of 32 values,
    which changes what an adapter adds by 1 % or so of it. Training, files, merging, GPUs and the matrices of experts
    have the values themselves in any case. No decode that wears it may be under way. HYBRID_ERROR_INVALID, _MEMORY: it
    stays as it was.""")

hybrid_adapter_destroy = _function('hybrid_adapter_destroy', None, [POINTER(hybrid_adapter)],
    """void hybrid_adapter_destroy(hybrid_adapter *adapter)

    Gives up the caller's hold. Sequences that wear it, or have tokens that were read with it, keep it: it ends with the
    last of them.""")

hybrid_adapter_describe = _function('hybrid_adapter_describe', None, [POINTER(hybrid_adapter), POINTER(hybrid_adapter_info)],
    """void hybrid_adapter_describe(const hybrid_adapter *adapter, hybrid_adapter_info *info)""")

hybrid_seq_set_adapters = _function('hybrid_seq_set_adapters', c_int, [POINTER(hybrid_context), c_int32, POINTER(POINTER(hybrid_adapter)), POINTER(c_float), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_seq_set_adapters(hybrid_context *context, int32_t seq, hybrid_adapter *const *adapters, const float *scales, size_t n, hybrid_error *error)

    What a sequence wears from its next token on: n adapters (at most HYBRID_SEQ_MAX_ADAPTERS), added up in their order,
    each times its factor of scales (NULL: 1 each; negative is fine). n 0: none. Tokens that are queued count as next
    ones; what is in the cache stays as it was written. A copy (hybrid_seq_fork) wears the same. While a decode is under
    way it is refused. On a GPU, a batch in which a sequence wears adapters goes without CUDA graphs.
    Memory: rows for the largest rank (and in a mixture of experts for what 128 rows add), which
    hybrid_context_desc.adapter_rank takes beforehand; else the first adapter of a larger rank takes it here.
    HYBRID_ERROR_INVALID: an adapter of another model, a factor that is not finite; _LIMIT: too many; _MEMORY,
    _DEVICE.""")

hybrid_sampler_create = _function('hybrid_sampler_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_sampler_desc), POINTER(POINTER(hybrid_sampler)), POINTER(hybrid_error)],
    """hybrid_result hybrid_sampler_create(hybrid_runtime *runtime, const hybrid_sampler_desc *desc, hybrid_sampler **sampler, hybrid_error *error)

    desc may be NULL. HYBRID_ERROR_INVALID names the field that is out of range. All memory is taken here (about 64 KB,
    whatever the vocabulary's size; with DRY 28 bytes for each of dry_last_n). A sampler is used by one thread at a
    time; every sequence has its own.""")

hybrid_sampler_destroy = _function('hybrid_sampler_destroy', None, [POINTER(hybrid_sampler)],
    """void hybrid_sampler_destroy(hybrid_sampler *sampler)""")

hybrid_sample = _function('hybrid_sample', c_int32, [POINTER(hybrid_sampler), POINTER(c_float), c_int32],
    """int32_t hybrid_sample(hybrid_sampler *sampler, const float *logits, int32_t n_vocab)

    Chooses a token: logits (n_vocab), not changed. Give the number of real tokens as n_vocab, so that padding is never
    chosen; a logit of -INFINITY excludes a token. Returns the id, or a negative hybrid_result: HYBRID_ERROR_INVALID (no
    logits), HYBRID_ERROR_NUMERIC (a logit is NaN or +infinite, or all are excluded), of which hybrid_sampler_result has
    the sentence; it then does not count as a try (NUMERIC also where the host's function made a logit so). What is
    drawn depends on the logits, the settings, the accepted tokens
    and the number of tries since the last of them: a second call without an accept draws again. Follow it by
    hybrid_sampler_accept when you take the token.""")

hybrid_sample_next = _function('hybrid_sample_next', c_int32, [POINTER(hybrid_sampler), POINTER(hybrid_context), c_int32, POINTER(hybrid_error)],
    """int32_t hybrid_sample_next(hybrid_sampler *sampler, hybrid_context *context, int32_t seq, hybrid_error *error)

    The same from hybrid_logits(context, seq), among the tokens of the model's vocabulary. Where a GPU holds the logits
    and the context was told to expect this (n_candidates), only the likeliest of them come to the host. The token is the
    same.""")

hybrid_sampler_result = _function('hybrid_sampler_result', c_int, [POINTER(hybrid_sampler), POINTER(hybrid_error)],
    """hybrid_result hybrid_sampler_result(const hybrid_sampler *sampler, hybrid_error *error)

    Of the last hybrid_sample or hybrid_sample_next: HYBRID_OK, or why it chose no token, with the sentence. error may be
    NULL.""")

hybrid_sampler_candidates = _function('hybrid_sampler_candidates', c_int32, [POINTER(hybrid_sampler_desc)],
    """int32_t hybrid_sampler_candidates(const hybrid_sampler_desc *desc)

    What to set hybrid_context_desc.n_candidates to, for sequences with samplers like this: 0 when they need all logits
    (a bias, a temperature without top_k or with a large one, penalties that raise, top_n_sigma, a temperature_range,
    mirostat 1). NULL: greedy.""")

hybrid_sampler_set_mask = _function('hybrid_sampler_set_mask', None, [POINTER(hybrid_sampler), POINTER(c_uint32), c_size_t],
    """void hybrid_sampler_set_mask(hybrid_sampler *sampler, const uint32_t *mask, size_t n_words)

    From now on only the tokens whose bits are set are chosen (bit id % 32 of mask[id / 32]; ids from 32 * n_words on are
    not): before the penalties, so all filters see only those. mask (NULL: all tokens again) is kept, not copied: it must
    stay until the next call of this function. See hybrid_matcher_mask. A forcing bias applies among these tokens.""")

hybrid_sampler_accept = _function('hybrid_sampler_accept', None, [POINTER(hybrid_sampler), c_int32],
    """void hybrid_sampler_accept(hybrid_sampler *sampler, int32_t id)

    The sequence goes on with this token: the penalties see it, the next draw is a new one, and mirostat learns from it
    if it is the one that was drawn last. Negative ids are ignored.""")

hybrid_tokens_with = _function('hybrid_tokens_with', c_size_t, [POINTER(hybrid_tokenizer), POINTER(c_char_p), c_size_t, POINTER(c_int32), c_size_t],
    """size_t hybrid_tokens_with(const hybrid_tokenizer *tokenizer, const char *const *texts, size_t n_texts, int32_t *ids, size_t capacity)

    The tokens whose bytes hold one of the texts: for dry_breakers (usual: line ends, ":", "\\"" and "*"), or to bias. The
    first capacity of them, rising, into ids; returns how many there are (0 when tokenizer or texts is NULL). Control
    tokens count by their spelling.""")

hybrid_sampler_reset = _function('hybrid_sampler_reset', None, [POINTER(hybrid_sampler)],
    """void hybrid_sampler_reset(hybrid_sampler *sampler)

    Back to the state after create: no tokens accepted, the random numbers from the start.""")

hybrid_score = _function('hybrid_score', c_int, [POINTER(hybrid_context), POINTER(hybrid_score_desc), POINTER(hybrid_score_info), POINTER(hybrid_error)],
    """hybrid_result hybrid_score(hybrid_context *context, const hybrid_score_desc *desc, hybrid_score_info *scores, hybrid_error *error)

    scores (n_texts): what the model thinks of each text after the prompt. The prompt is computed once; texts share it,
    and go through the model side by side.

    The context runs in sequences of it that are empty: one for the prompt, whose adapters count
    (hybrid_seq_set_adapters; the one with the lowest number), and others for texts, so it has at least two. They are
    empty again afterwards. More sequences (n_seq) and rows of logits (n_logits: one for each token that is computed at a
    time) make it faster; results are the same to the bit. Logits of earlier decodes are gone.

    Texts are tokenized together with the prompt, as if they had been written after it; what is counted begins at the
    first token in which any of them differs from the prompt alone, so that all of them count the same bytes (a prompt
    should end before a space rather than after it). The distribution is that over all tokens of the vocabulary, as
    samplers see it at temperature 1.

    HYBRID_ERROR_INVALID: nothing to score, an empty text or prompt, a bad token id, tokens in the batch, fewer than two
    empty sequences; _CONTEXT_FULL: the prompt and a text need more positions than are free; _UNSUPPORTED: texts in a
    build without them (HYBRID_NO_TEXT); _NUMERIC: logits that are not finite; _MEMORY, _DEVICE. A call that fails leaves
    scores and sequences as they were. One thread at a time for each context.""")

hybrid_embed = _function('hybrid_embed', c_int, [POINTER(hybrid_context), POINTER(hybrid_embed_desc), POINTER(c_float), POINTER(hybrid_error)],
    """hybrid_result hybrid_embed(hybrid_context *context, const hybrid_embed_desc *desc, float *vectors, hybrid_error *error)

    vectors (n_texts, n_embd) = the meaning of each text (n_embd: of hybrid_model_describe).

    The context runs in sequences of it that are empty, one at least, and leaves them empty; what their adapters change
    counts. As many texts go through the model together as there are such sequences (n_seq) and room for (n_ctx tokens in
    all); a vector is the same to the bit whatever its neighbours are. A text may have as many tokens as fit the context
    and the model; those of an encoder (hybrid_model_info.is_encoder) go through it in one piece, so n_batch bounds them,
    too. Logits of earlier decodes are gone.

    HYBRID_ERROR_INVALID: no texts, a text without tokens, a bad id or pooling, tokens in the batch, no empty sequence;
    _LIMIT: a text that is too long, see truncate; _CONTEXT_FULL: not even one text fits beside what the context holds;
    _NUMERIC: states that are not finite; _UNSUPPORTED: texts in a build without them (HYBRID_NO_TEXT), a model that
    pools in a way of its own; _CANCELLED, _MEMORY, _DEVICE. After a failure the first vectors may be there; everything
    else is as it was. One thread at a time for each context.""")

hybrid_model_create = _function('hybrid_model_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_model_shape), POINTER(POINTER(hybrid_model)), POINTER(hybrid_error)],
    """hybrid_result hybrid_model_create(hybrid_runtime *runtime, const hybrid_model_shape *shape, hybrid_model **model, hybrid_error *error)

    Makes a model with random weights, which a trainer can change: matrices and embeddings about normal with a standard
    deviation of 0.02, those that add to the residual stream of 0.02 / sqrt(2 n_layer), norms 1, biases 0 (as GPT-2 does
    it). It is loaded as hybrid_model_load does with desc.trainable. runtime may be NULL.
    HYBRID_ERROR_INVALID names the size that does not fit the others; HYBRID_ERROR_UNSUPPORTED: the architecture;
    HYBRID_ERROR_MEMORY.""")

hybrid_trainer_create = _function('hybrid_trainer_create', c_int, [POINTER(hybrid_trainer_desc), POINTER(POINTER(hybrid_trainer)), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_create(const hybrid_trainer_desc *desc, hybrid_trainer **trainer, hybrid_error *error)

    HYBRID_ERROR_UNSUPPORTED: no kernel for heads of the model's sizes, or for a type of its matrices;
    HYBRID_ERROR_MEMORY; nothing has been changed then. Every family that runs can be trained, but for encoders, on the
    CPU and on a GPU. Of a mixture of experts the choice has no gradient, its weights have; Muon leaves the experts'
    matrices, and what an adapter has for them, to AdamW.""")

hybrid_trainer_destroy = _function('hybrid_trainer_destroy', None, [POINTER(hybrid_trainer)],
    """void hybrid_trainer_destroy(hybrid_trainer *trainer)""")

hybrid_trainer_describe = _function('hybrid_trainer_describe', None, [POINTER(hybrid_trainer), POINTER(hybrid_trainer_desc)],
    """void hybrid_trainer_describe(const hybrid_trainer *trainer, hybrid_trainer_desc *desc)

    The descriptor with every zero replaced by what is used.""")

hybrid_trainer_step = _function('hybrid_trainer_step', c_int, [POINTER(hybrid_trainer), POINTER(hybrid_train_batch), POINTER(hybrid_train_metrics), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_step(hybrid_trainer *trainer, const hybrid_train_batch *batches, hybrid_train_metrics *metrics, hybrid_error *error)

    One step: forward and backward over n_batches batches, and the optimizer. batches: that many. metrics may be NULL.
    One thread at a time, and no context of the model runs meanwhile.
    HYBRID_ERROR_INVALID: a token or target that the model does not have, a weight that is negative or not finite, no
    target that counts; HYBRID_ERROR_NUMERIC: the loss or a gradient is not finite. The weights and the optimizer are as
    before then.""")

hybrid_trainer_work = _function('hybrid_trainer_work', c_int, [POINTER(hybrid_trainer), POINTER(hybrid_train_batch), c_uint64, POINTER(c_bool), POINTER(hybrid_train_metrics), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_work(hybrid_trainer *trainer, const hybrid_train_batch *batches, uint64_t budget_us, bool *done, hybrid_train_metrics *metrics, hybrid_error *error)

    The same in slices, so that a program trains between its frames: works for about budget_us microseconds, then returns
    OK with *done false; called again with the same batches, it goes on. A step has the bits of hybrid_trainer_step; when
    it is done, *done is true, and metrics (may be NULL) are filled, of which seconds are those of all slices. A call
    that fails has given up its step.
    Weights and optimizer change in the last slice of a step, all of them: before it they are those of the step before,
    and contexts run the model between slices, but not during one. The batches are read when their turn comes: until
    *done they must stay as they are.
    A slice does one operation at least, and ends before one that would probably take too long. The longest cannot be
    cut: a product of a layer, or of some rows of logits, with all rows of a batch, and the update of all weights (AdamW:
    about 1.5 ms a million; Muon multiplies matrices then). A small n_seq (with more n_batches) makes products short.
    Until the step is done, hybrid_trainer_step, _evaluate, _save and _load are refused by HYBRID_ERROR_INVALID;
    hybrid_trainer_cancel gives it up, and hybrid_trainer_destroy may be called at any time.""")

hybrid_trainer_cancel = _function('hybrid_trainer_cancel', None, [POINTER(hybrid_trainer)],
    """void hybrid_trainer_cancel(hybrid_trainer *trainer)

    Gives up the step that hybrid_trainer_work is in the middle of, if there is one: as if it had not been begun.""")

hybrid_trainer_set_format = _function('hybrid_trainer_set_format', c_int, [POINTER(hybrid_trainer), c_int, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_set_format(hybrid_trainer *trainer, hybrid_type format, hybrid_error *error)

    Changes the format between two steps. A checkpoint holds it, and hybrid_trainer_load takes it from there, whatever
    the descriptor said; then it can be changed here. HYBRID_ERROR_INVALID: not such a format; _UNSUPPORTED: of a model
    of your own; _LIMIT: it takes more than max_bytes; _MEMORY: nothing has been changed.""")

hybrid_trainer_set_batches = _function('hybrid_trainer_set_batches', c_int, [POINTER(hybrid_trainer), c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_set_batches(hybrid_trainer *trainer, int32_t n_batches, hybrid_error *error)

    Another number of batches for the steps that come (hybrid_trainer_desc.n_batches), between two steps: as noise grows,
    larger batches are worth more (HYBRID_TUNE_BATCHES of predict.h says when). A checkpoint does not hold it.
    HYBRID_ERROR_INVALID: less than 1.""")

hybrid_trainer_evaluate = _function('hybrid_trainer_evaluate', c_int, [POINTER(hybrid_trainer), POINTER(hybrid_train_batch), POINTER(c_double), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_evaluate(hybrid_trainer *trainer, const hybrid_train_batch *batch, double *loss, hybrid_error *error)

    Mean cross-entropy of the targets of one batch, in nats; nothing is changed.""")

hybrid_trainer_swap_ema = _function('hybrid_trainer_swap_ema', c_int, [POINTER(hybrid_trainer), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_swap_ema(hybrid_trainer *trainer, hybrid_error *error)

    Exchanges the weights and their average (hybrid_trainer_desc.ema): contexts run, hybrid_trainer_evaluate measures and
    hybrid_trainer_export writes the average then. Once more, and the weights are back, with the same bits; steps and
    hybrid_trainer_save are refused before (HYBRID_ERROR_INVALID). The average begins with the weights that the trainer
    began with. HYBRID_ERROR_INVALID: none is kept.""")

hybrid_trainer_steps = _function('hybrid_trainer_steps', c_int64, [POINTER(hybrid_trainer)],
    """int64_t hybrid_trainer_steps(const hybrid_trainer *trainer)

    Steps done, those before a checkpoint was loaded included.""")

hybrid_trainer_plan = _function('hybrid_trainer_plan', c_int, [POINTER(hybrid_trainer_desc), POINTER(hybrid_train_plan), POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_plan(const hybrid_trainer_desc *desc, hybrid_train_plan *plan, hybrid_error *error)

    HYBRID_ERROR_LIMIT: max_bytes is not enough for a batch of one sequence; else as hybrid_trainer_create.""")

hybrid_trainer_save = _function('hybrid_trainer_save', c_int, [POINTER(hybrid_trainer), c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_save(hybrid_trainer *trainer, const char *path, hybrid_error *error)

    Writes a checkpoint: beside path, under the name PATH.<process>-<number>.part, which is put on the disk and then
    takes path's place in one move. Whatever happens - a full disk, the end of the program or of the machine's power -
    there is one whole checkpoint at path: this one, or the one before. Other names (hard links) of the one before keep
    its bytes. Unfinished files of programs that are gone are taken away. One thread at a time may save to a path.
    A checkpoint is a GGUF with the keys of the model's file, the weights as F32, and hybrid.* beside them:
    hybrid_model_load loads it as a model, so that a run can go on without the file that it began with. Other programs
    want an export. HYBRID_ERROR_NUMERIC: a weight is not finite; _IO, _MEMORY.""")

hybrid_trainer_load = _function('hybrid_trainer_load', c_int, [POINTER(hybrid_trainer), c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_load(hybrid_trainer *trainer, const char *path, hybrid_error *error)

    Goes on from a checkpoint. HYBRID_ERROR_FORMAT: it is none, or a single bit of it is not as it was saved (a checksum
    over all bytes is looked at first); _UNSUPPORTED: saved by another version; _INVALID: of another model (keys of the
    architecture and of the tokenizer, names and shapes of tensors), or trained by another optimizer; _IO, _MEMORY.
    Nothing has been changed then; only if the file cannot be read a second time, after all of it was found good, is the
    trainer useless until a load succeeds, and says so. The file is not needed in memory. The trainer goes on with its
    own descriptor: numbers that differ from those of the checkpoint (rate, betas, decay, schedule, n_batches...) are
    named in the log (WARN). n_seq and n_ctx may differ. An average that the checkpoint lacks begins with its weights,
    and a momentum of SGD with zero.""")

hybrid_trainer_set_user = _function('hybrid_trainer_set_user', c_int, [POINTER(hybrid_trainer), c_void_p, c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_set_user(hybrid_trainer *trainer, const void *data, size_t size, hybrid_error *error)

    Bytes that are saved and loaded with the rest; copied, at most 256 MiB. What hybrid_trainer_user gives is valid until
    they are set again or a checkpoint is loaded; NULL: there are none.""")

hybrid_trainer_user = _function('hybrid_trainer_user', c_void_p, [POINTER(hybrid_trainer), POINTER(c_size_t)],
    """const void *hybrid_trainer_user(const hybrid_trainer *trainer, size_t *size)""")

hybrid_trainer_export = _function('hybrid_trainer_export', c_int, [POINTER(hybrid_trainer), c_char_p, c_int, POINTER(hybrid_error)],
    """hybrid_result hybrid_trainer_export(hybrid_trainer *trainer, const char *path, hybrid_mix mix, hybrid_error *error)

    Writes the model as a GGUF that any program runs: keys and tensors of the model's file, with the weights of now in
    the types of a mix (HYBRID_MIX_F32, _F16, _Q8_0, _Q4_K_M...; hybrid_quantize_type_for says which tensor gets which;
    vectors stay F32). As hybrid_gguf_begin_path, it leaves what is at path when it fails.
    HYBRID_ERROR_NUMERIC: a weight is not finite, or too large for F16; _INVALID, also where an adapter is trained:
    hybrid_adapter_save writes that; _IO, _MEMORY.""")

hybrid_predict_set = _function('hybrid_predict_set', c_int, [POINTER(hybrid_predict_desc), c_char_p, c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_predict_set(hybrid_predict_desc *desc, const char *key, const char *value, hybrid_error *error)

    Settings by name, for command lines and files: "window" is desc->window; names of configurations of earlier hybrid
    trainers are known as well, with what they mean here. HYBRID_ERROR_INVALID: no such key, or a value that it does not
    take; _UNSUPPORTED: a key that cannot be set here, with the reason. desc is as before then.""")

hybrid_predict_key = _function('hybrid_predict_key', c_char_p, [c_size_t, POINTER(c_bool), POINTER(c_char_p)],
    """const char *hybrid_predict_key(size_t i, bool *can_be_set, const char **meaning)

    The i-th key; NULL: there are no more. meaning (static): what it is, or why it cannot be set. Either may be NULL.""")

hybrid_predict_preset = _function('hybrid_predict_preset', c_int, [c_char_p, POINTER(hybrid_predict_desc), POINTER(hybrid_error)],
    """hybrid_result hybrid_predict_preset(const char *name, hybrid_predict_desc *desc, hybrid_error *error)

    Settings that go together: "default", "watch", "conservative", "balanced", "aggressive", "micro_correction",
    "learned", "memory". All fields of desc but trainer, seed, mark, go_back and user are set. HYBRID_ERROR_INVALID:
    there is no such preset, and desc is as before.""")

hybrid_predict_preset_name = _function('hybrid_predict_preset_name', c_char_p, [c_size_t, POINTER(c_char_p)],
    """const char *hybrid_predict_preset_name(size_t i, const char **meaning)

    The i-th preset, and what it is for; NULL: there are no more.""")

hybrid_predictor_create = _function('hybrid_predictor_create', c_int, [POINTER(hybrid_predict_desc), POINTER(POINTER(hybrid_predictor)), POINTER(hybrid_error)],
    """hybrid_result hybrid_predictor_create(const hybrid_predict_desc *desc, hybrid_predictor **predictor, hybrid_error *error)

    Attaches a predictor to a trainer: from the next step on it watches. HYBRID_ERROR_INVALID: a setting that cannot be,
    by name; the trainer has one; _LIMIT: there is no room for it below the trainer's max_bytes; _MEMORY.""")

hybrid_predictor_destroy = _function('hybrid_predictor_destroy', None, [POINTER(hybrid_predictor)],
    """void hybrid_predictor_destroy(hybrid_predictor *predictor)

    The trainer goes on by true steps alone.""")

hybrid_predictor_describe = _function('hybrid_predictor_describe', None, [POINTER(hybrid_predictor), POINTER(hybrid_predict_desc)],
    """void hybrid_predictor_describe(const hybrid_predictor *predictor, hybrid_predict_desc *desc)

    The descriptor with every zero replaced by what is used.""")

hybrid_predictor_plan = _function('hybrid_predictor_plan', c_int, [POINTER(hybrid_predict_desc), POINTER(c_uint64), POINTER(hybrid_error)],
    """hybrid_result hybrid_predictor_plan(const hybrid_predict_desc *desc, uint64_t *bytes, hybrid_error *error)

    Bytes that a predictor of this descriptor takes, apart from the trainer: equal to what create then allocates.""")

hybrid_predictor_metrics = _function('hybrid_predictor_metrics', None, [POINTER(hybrid_predictor), POINTER(hybrid_predict_metrics)],
    """void hybrid_predictor_metrics(const hybrid_predictor *predictor, hybrid_predict_metrics *metrics)""")

hybrid_predictor_verdict = _function('hybrid_predictor_verdict', c_char_p, [POINTER(hybrid_predictor)],
    """const char *hybrid_predictor_verdict(hybrid_predictor *predictor)

    A sentence about what prediction did so far, with its uncertainty. Valid until the next call.""")

hybrid_curve_create = _function('hybrid_curve_create', c_int, [POINTER(hybrid_runtime), POINTER(hybrid_curve_desc), POINTER(POINTER(hybrid_curve)), POINTER(hybrid_error)],
    """hybrid_result hybrid_curve_create(hybrid_runtime *runtime, const hybrid_curve_desc *desc, hybrid_curve **curve, hybrid_error *error)

    runtime may be NULL. Memory: 120 bytes a step. HYBRID_ERROR_FORMAT: the file at path is not of such lines (offset: of
    the first that is not); _INVALID, _IO, _MEMORY, _UNSUPPORTED (a path in a build without files).""")

hybrid_curve_destroy = _function('hybrid_curve_destroy', None, [POINTER(hybrid_curve)],
    """void hybrid_curve_destroy(hybrid_curve *curve)""")

hybrid_curve_add = _function('hybrid_curve_add', c_int, [POINTER(hybrid_curve), POINTER(hybrid_train_metrics), POINTER(c_double), POINTER(hybrid_error)],
    """hybrid_result hybrid_curve_add(hybrid_curve *curve, const hybrid_train_metrics *metrics, const double *validation, hybrid_error *error)

    A step that was done. validation: the loss on data that is not learned from, when it was looked at; or NULL. A loss
    that is not finite is null in the file and a gap in the picture.
    Of a run with a predictor a point has what that did, and its line in the file, too ("phase", "event", "moved", "low",
    "high", "confidence", "said", "worth"). Where metrics.predict.event is HYBRID_PREDICT_WENT_BACK, the points above
    metrics.step are taken out, and no new one is made: the step was not taken. In the file a line {"went_back_to": step}
    says that the lines of steps above it do not count any more.
    HYBRID_ERROR_INVALID: the step is not above the one before; _IO: writing failed; then the point does not count, and
    can be added again; _MEMORY.""")

hybrid_curve_line = _function('hybrid_curve_line', c_char_p, [POINTER(hybrid_curve)],
    """const char *hybrid_curve_line(const hybrid_curve *curve)

    How far the run is, in less than 120 characters: "step 812 of 2000  loss 1.9874  validation 2.0121  2113 tokens/s
    7.2 min left". Tokens a second and the time left are of the last 32 steps. With a predictor the phase and its
    confidence stand before them: "correct, confidence 0.62". Valid until the next point.""")

hybrid_curve_points = _function('hybrid_curve_points', POINTER(hybrid_curve_point), [POINTER(hybrid_curve), POINTER(c_size_t)],
    """const hybrid_curve_point *hybrid_curve_points(const hybrid_curve *curve, size_t *n)

    All points, *n of them; valid until the next one.""")

hybrid_curve_draw = _function('hybrid_curve_draw', c_int, [POINTER(hybrid_curve), hybrid_write_fn, c_void_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_curve_draw(hybrid_curve *curve, hybrid_write_fn write, void *user, hybrid_error *error)

    Draws an SVG of 800 to 440: loss (its mean and range where there are more steps than room), validation, learning
    rate. Of a run with a predictor also the phase of each step (a strip above the frame, in which a move has the colour
    of predictions), a mark where weights were moved (below the strip) and where the run went back, and between which
    losses nine of ten steps were expected; beside all that, in 280 units more, the calibration: how many moves that were
    made with so much confidence were worth something, and which part of the losses was within the band, from the first
    step to the last. No script; dark where the reader's system is. HYBRID_ERROR_IO: write gave false.""")

hybrid_curve_draw_path = _function('hybrid_curve_draw_path', c_int, [POINTER(hybrid_curve), c_char_p, POINTER(hybrid_error)],
    """hybrid_result hybrid_curve_draw_path(hybrid_curve *curve, const char *path, hybrid_error *error)

    The same into a file, which is put in the place of the one before when it is whole. HYBRID_ERROR_IO, _MEMORY,
    _UNSUPPORTED (a build without files).""")

hybrid_adapter_learn = _function('hybrid_adapter_learn', c_int, [POINTER(hybrid_adapter), POINTER(hybrid_learn_desc), c_uint64, POINTER(hybrid_learn_info), POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_learn(hybrid_adapter *adapter, const hybrid_learn_desc *desc, uint64_t budget_us, hybrid_learn_info *info, hybrid_error *error)

    Begins a lesson (desc), in the place of one that is under way, and works on it; NULL: goes on with the one that is
    under way. Returns when it is over, or when budget_us microseconds have passed (0: no bound): work is done in pieces,
    a part of a layer over at most 512 tokens each, and the last one may go beyond. After a lesson n_left is 0, and going
    on does nothing. The adapter changes at the end of a step, not in between. The same lesson over the same adapter
    gives the same bits, whatever the budgets and the number of threads. Memory stays with the adapter: moments, a copy
    of all of it for rollback, and the passes' (info.bytes). info may be NULL. One thread at a time, and no context that
    wears the adapter runs meanwhile. HYBRID_ERROR_INVALID: a field of desc, an example without an answer, a token that
    the model does not have; _LIMIT: an example that is longer than the model's context; _UNSUPPORTED: as
    hybrid_trainer_create, or a template that cannot say what the assistant says; _MEMORY: nothing has been changed then.
    _NUMERIC: a loss that is not finite: that step was not done, those before it were, and the lesson is over.""")

hybrid_adapter_commit = _function('hybrid_adapter_commit', c_int, [POINTER(hybrid_adapter), POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_commit(hybrid_adapter *adapter, hybrid_error *error)

    What has been learned so far (whole steps of it) is what hybrid_adapter_rollback goes back to from now on.
    HYBRID_ERROR_MEMORY.""")

hybrid_adapter_rollback = _function('hybrid_adapter_rollback', c_int, [POINTER(hybrid_adapter), POINTER(hybrid_error)],
    """hybrid_result hybrid_adapter_rollback(hybrid_adapter *adapter, hybrid_error *error)

    Back to the last commit, or to what the adapter was before it was first trained: the very bits, of its values, of the
    moments and of the number of steps of its lessons. A lesson under way ends. A hybrid_trainer of this adapter keeps
    its own moments. Needs no memory. HYBRID_ERROR_INVALID; _DEVICE, where the model is on a GPU.""")

hybrid_ids_free = _function('hybrid_ids_free', None, [POINTER(hybrid_ids)],
    """void hybrid_ids_free(hybrid_ids *ids)

    Gives the memory back and makes ids zero again. NULL is fine.""")

hybrid_prompt = _function('hybrid_prompt', c_int, [POINTER(hybrid_model), POINTER(hybrid_prompt_desc), POINTER(hybrid_ids), POINTER(hybrid_error)],
    """hybrid_result hybrid_prompt(const hybrid_model *model, const hybrid_prompt_desc *desc, hybrid_ids *ids, hybrid_error *error)

    The token ids of a conversation in the model's own template, or of plain text: BOS where the model wants one and the
    template has not written it (never twice), no EOS at the end of text that is to go on. A system message that the
    template refuses or drops goes before the first user message (hybrid_chat_desc.merge_system).
    Errors: INVALID (a NULL, a role that a model without template does not know, no token at all), those of
    hybrid_chat_render and hybrid_tokenize. Thread-safe.""")

hybrid_stream_create = _function('hybrid_stream_create', c_int, [POINTER(hybrid_context), POINTER(hybrid_stream_desc), POINTER(POINTER(hybrid_stream)), POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_create(hybrid_context *context, const hybrid_stream_desc *desc, hybrid_stream **stream, hybrid_error *error)

    desc may be NULL. Errors: INVALID (the sequence belongs to another stream, there is none left, max_tokens; a draft
    with other tokens, without a free sequence, or that has streams itself), UNSUPPORTED (a draft that is an encoder, or
    whose model is recurrent), those of hybrid_sampler_create, MEMORY. All memory is taken here, but for that of
    grammars.""")

hybrid_stream_destroy = _function('hybrid_stream_destroy', None, [POINTER(hybrid_stream)],
    """void hybrid_stream_destroy(hybrid_stream *stream)""")

hybrid_stream_begin = _function('hybrid_stream_begin', c_int, [POINTER(hybrid_stream), POINTER(c_int32), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_begin(hybrid_stream *stream, const int32_t *ids, size_t n, hybrid_error *error)

    Makes n token ids the content of the sequence, and begins an answer after them; nothing is computed yet. What the
    cache holds of them already is kept. An answer that still runs is broken off.
    Errors: INVALID (n is 0, a bad id), CONTEXT_FULL (n is not below n_max); the stream is as it was.""")

hybrid_stream_next = _function('hybrid_stream_next', c_int, [POINTER(hybrid_stream), POINTER(hybrid_piece), POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_next(hybrid_stream *stream, hybrid_piece *piece, hybrid_error *error)

    The next piece. An empty one: the answer has ended, piece->stop says why. When it fails, another call tries again,
    and the text will be the same.""")

hybrid_stream_step = _function('hybrid_stream_step', c_int, [POINTER(hybrid_stream), c_uint64, POINTER(hybrid_piece), POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_step(hybrid_stream *stream, uint64_t budget_us, hybrid_piece *piece, hybrid_error *error)

    The same in slices: works for about budget_us microseconds, on the prompt and on the answer alike, and returns with
    a piece as soon as there is one (else with an empty one, and piece->stop is HYBRID_STOP_NONE). The text is that of
    hybrid_stream_next, bit for bit.""")

hybrid_stream_stop = _function('hybrid_stream_stop', None, [POINTER(hybrid_stream)],
    """void hybrid_stream_stop(hybrid_stream *stream)

    Breaks the answer off, at any moment, also inside the prompt. What was computed stays in the cache.""")

hybrid_stream_set_sampler = _function('hybrid_stream_set_sampler', c_int, [POINTER(hybrid_stream), POINTER(hybrid_sampler_desc), c_int32, POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_set_sampler(hybrid_stream *stream, const hybrid_sampler_desc *sampler, int32_t max_tokens, hybrid_error *error)

    From the next answer on: another sampler (NULL: that of the descriptor again), and another limit (0: that of the
    descriptor). Errors: those of hybrid_sampler_create; nothing has changed then.""")

hybrid_stream_ids = _function('hybrid_stream_ids', POINTER(c_int32), [POINTER(hybrid_stream), POINTER(c_size_t)],
    """const int32_t *hybrid_stream_ids(const hybrid_stream *stream, size_t *n)

    All tokens of the sequence and of the batch: *n of them, of the last prompt and of its answer. Valid until the next
    call.""")

hybrid_stream_describe = _function('hybrid_stream_describe', None, [POINTER(hybrid_stream), POINTER(hybrid_stream_info)],
    """void hybrid_stream_describe(const hybrid_stream *stream, hybrid_stream_info *info)""")

hybrid_stream_set_grammar = _function('hybrid_stream_set_grammar', c_int, [POINTER(hybrid_stream), POINTER(hybrid_grammar), POINTER(hybrid_error)],
    """hybrid_result hybrid_stream_set_grammar(hybrid_stream *stream, const hybrid_grammar *grammar, hybrid_error *error)

    Answers that begin from now on are texts of this grammar; as hybrid_session_set_grammar says it.""")

hybrid_session_create = _function('hybrid_session_create', c_int, [POINTER(hybrid_model), POINTER(hybrid_session_desc), POINTER(POINTER(hybrid_session)), POINTER(hybrid_error)],
    """hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error)

    A session belongs to one thread at a time, and so do all sessions that share a context. desc may be NULL.""")

hybrid_session_destroy = _function('hybrid_session_destroy', None, [POINTER(hybrid_session)],
    """void hybrid_session_destroy(hybrid_session *session)""")

hybrid_session_say = _function('hybrid_session_say', c_int, [POINTER(hybrid_session), c_char_p],
    """hybrid_result hybrid_session_say(hybrid_session *session, const char *text)

    Adds a user message and starts an answer, which hybrid_session_next delivers. Uses the model's chat template (a model
    without one gets "User: ... Assistant:"). Only what is new is computed. The oldest messages are dropped when the
    conversation no longer fits. What a text spells out ("<|im_end|>") stays words: only the template itself writes
    control tokens (but see parse_special).
    An answer that still runs is broken off, and what was shown of it becomes its message. A message that is refused (too
    long, a template that raises, no memory) was not said: the conversation, the cache and an answer that still runs
    are as they were. The sentence of a failure is to be had from hybrid_session_result.""")

hybrid_session_complete = _function('hybrid_session_complete', c_int, [POINTER(hybrid_session), c_char_p],
    """hybrid_result hybrid_session_complete(hybrid_session *session, const char *text)

    Starts a continuation of plain text, without any template; it follows what is there already.""")

hybrid_session_answer = _function('hybrid_session_answer', c_int, [POINTER(hybrid_session), c_char_p, POINTER(hybrid_answer_desc)],
    """hybrid_result hybrid_session_answer(hybrid_session *session, const char *text, const hybrid_answer_desc *how)

    hybrid_session_say with settings for this answer alone; how may be NULL. text NULL: nobody says anything, and the
    messages that are there are answered (after hybrid_session_add, _edit or _cut).""")

hybrid_session_next = _function('hybrid_session_next', c_char_p, [POINTER(hybrid_session)],
    """const char *hybrid_session_next(hybrid_session *session)

    The next piece of the answer: zero-terminated valid UTF-8, valid until the next call. NULL: the answer has ended, or,
    with a result that is not HYBRID_OK, it could not go on (no memory, say): another call tries again, and the text
    will be the same.""")

hybrid_session_step = _function('hybrid_session_step', c_int, [POINTER(hybrid_session), c_uint64, POINTER(hybrid_piece)],
    """hybrid_result hybrid_session_step(hybrid_session *session, uint64_t budget_us, hybrid_piece *piece)

    The same for a frame of a program: works for about budget_us microseconds, on the prompt and on the answer alike, and
    returns as soon as there is a piece. piece->size 0 and piece->stop HYBRID_STOP_NONE: not yet, call again in the next
    frame. The text is that of hybrid_session_next, bit for bit.

        while (frame() && !hybrid_session_step(npc, 2000, &piece) && !piece.stop) show(piece.text);""")

hybrid_session_stop = _function('hybrid_session_stop', None, [POINTER(hybrid_session)],
    """void hybrid_session_stop(hybrid_session *session)

    Breaks the answer off, at any moment, also inside the prompt: what was shown of it stays as its message.""")

hybrid_session_result = _function('hybrid_session_result', c_int, [POINTER(hybrid_session), POINTER(hybrid_error)],
    """hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error)

    Of the last call that starts, delivers or changes something: HYBRID_OK, or why it failed, with the sentence. error
    may be NULL.""")

hybrid_session_describe = _function('hybrid_session_describe', None, [POINTER(hybrid_session), POINTER(hybrid_session_info)],
    """void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info)""")

hybrid_session_user = _function('hybrid_session_user', c_void_p, [POINTER(hybrid_session)],
    """void *hybrid_session_user(const hybrid_session *session)""")

hybrid_session_count = _function('hybrid_session_count', c_size_t, [POINTER(hybrid_session)],
    """size_t hybrid_session_count(const hybrid_session *session)

    How many there are, with the system prompt, and with what was shown of the last answer.""")

hybrid_session_message = _function('hybrid_session_message', hybrid_chat_message, [POINTER(hybrid_session), c_size_t],
    """hybrid_chat_message hybrid_session_message(const hybrid_session *session, size_t i)

    Message i: its role ("system", "user", "assistant", "tool") and its text, valid until the next call; both NULL when
    there is no such message.""")

hybrid_session_add = _function('hybrid_session_add', c_int, [POINTER(hybrid_session), c_char_p, c_char_p],
    """hybrid_result hybrid_session_add(hybrid_session *session, const char *role, const char *text)

    Adds a message without an answer. Errors of these three: INVALID (no such role or message), MEMORY; nothing has
    changed then, else an answer that runs is broken off. They compute nothing: the next answer does.""")

hybrid_session_edit = _function('hybrid_session_edit', c_int, [POINTER(hybrid_session), c_size_t, c_char_p],
    """hybrid_result hybrid_session_edit(hybrid_session *session, size_t i, const char *text)

    Another text for message i.""")

hybrid_session_cut = _function('hybrid_session_cut', c_int, [POINTER(hybrid_session), c_size_t],
    """hybrid_result hybrid_session_cut(hybrid_session *session, size_t n)

    Keeps the first n messages.""")

hybrid_session_set_grammar = _function('hybrid_session_set_grammar', c_int, [POINTER(hybrid_session), POINTER(hybrid_grammar), POINTER(hybrid_error)],
    """hybrid_result hybrid_session_set_grammar(hybrid_session *session, const hybrid_grammar *grammar, hybrid_error *error)

    Answers that begin from now on (hybrid_session_say, _complete) are texts of this grammar, whatever the model would
    say: {"json": ...}, "yes" or "no". NULL: any text again. An answer ends where it can only end, or where the model
    ends it and the grammar lets it; max_tokens and a full context still cut it. The grammar must outlive the
    session, or be taken off.
    An answer that still runs goes on as it began. Errors: INVALID, MEMORY; nothing has changed then.""")

hybrid_session_say_json = _function('hybrid_session_say_json', c_int, [POINTER(hybrid_session), c_char_p, c_char_p],
    """hybrid_result hybrid_session_say_json(hybrid_session *session, const char *text, const char *schema)

    hybrid_session_say, and the answer is JSON that fits a JSON Schema (hybrid_grammar_desc says which, and how it is
    written): the pieces of hybrid_session_next, put together, are one value, unless max_tokens or the context cut it
    (hybrid_session_describe: stop is HYBRID_STOP_END when it is whole). For this answer only: it comes before the
    grammar of hybrid_session_set_grammar. The model sees no more than text: what its answer is to be about belongs in
    there. schema ends with a zero byte and is not kept. Beside those of hybrid_session_say: FORMAT, UNSUPPORTED or
    LIMIT, with a sentence that names the keyword and its place; nothing was said then.""")

hybrid_session_set_adapters = _function('hybrid_session_set_adapters', c_int, [POINTER(hybrid_session), POINTER(POINTER(hybrid_adapter)), POINTER(c_float), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_session_set_adapters(hybrid_session *session, hybrid_adapter *const *adapters, const float *scales, size_t n, hybrid_error *error)

    What the session wears from its next token on, as hybrid_seq_set_adapters says it; between two pieces of an answer,
    too. What was read of the conversation stays as it was read: hybrid_session_reset begins anew.""")

hybrid_session_reset = _function('hybrid_session_reset', None, [POINTER(hybrid_session)],
    """void hybrid_session_reset(hybrid_session *session)

    Forgets the conversation; the system prompt and the adapters stay.""")

hybrid_crowd_create = _function('hybrid_crowd_create', c_int, [POINTER(hybrid_context), POINTER(POINTER(hybrid_crowd)), POINTER(hybrid_error)],
    """hybrid_result hybrid_crowd_create(hybrid_context *context, hybrid_crowd **crowd, hybrid_error *error)

    The context must outlive the crowd. Errors: INVALID, MEMORY.""")

hybrid_crowd_destroy = _function('hybrid_crowd_destroy', None, [POINTER(hybrid_crowd)],
    """void hybrid_crowd_destroy(hybrid_crowd *crowd)

    The sessions stay as they are.""")

hybrid_crowd_add = _function('hybrid_crowd_add', c_int, [POINTER(hybrid_crowd), POINTER(hybrid_session), c_float, POINTER(hybrid_error)],
    """hybrid_result hybrid_crowd_add(hybrid_crowd *crowd, hybrid_session *session, float priority, hybrid_error *error)

    Takes a session in, or gives one that is in it another priority, a positive number: where two have work, one with
    twice the priority of the other takes twice its turns, and none waits for ever. Take a session out before it is
    destroyed. Errors: INVALID (it has another context, or no such priority), MEMORY.""")

hybrid_crowd_remove = _function('hybrid_crowd_remove', None, [POINTER(hybrid_crowd), POINTER(hybrid_session)],
    """void hybrid_crowd_remove(hybrid_crowd *crowd, hybrid_session *session)

    A session that is not in it is fine.""")

hybrid_crowd_step = _function('hybrid_crowd_step', c_int, [POINTER(hybrid_crowd), c_uint64, POINTER(hybrid_error)],
    """hybrid_result hybrid_crowd_step(hybrid_crowd *crowd, uint64_t budget_us, hybrid_error *error)

    Works for about budget_us microseconds on the answers of all, and returns as soon as there are pieces: take them by
    hybrid_crowd_next, and call again if there is time left. A session that has a piece waits until it is taken; one that
    cannot go on has one with HYBRID_STOP_ERROR, and hybrid_session_result says why.
    Errors: those of hybrid_decode_step. Another call tries again then.""")

hybrid_crowd_next = _function('hybrid_crowd_next', POINTER(hybrid_session), [POINTER(hybrid_crowd), POINTER(hybrid_piece)],
    """hybrid_session *hybrid_crowd_next(hybrid_crowd *crowd, hybrid_piece *piece)

    A session that has a piece, and the piece, valid until the next step; an answer ends with one whose stop says why,
    which may be empty. NULL: there are no more.""")

hybrid_seq_save = _function('hybrid_seq_save', c_int, [POINTER(hybrid_context), c_int32, POINTER(hybrid_save_desc), POINTER(hybrid_target), POINTER(hybrid_error)],
    """hybrid_result hybrid_seq_save(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc, const hybrid_target *to, hybrid_error *error)

    Saves a sequence: its tokens, what the cache holds of them, and which adapters it wears. desc may be NULL. What is
    queued in a batch is not part of it; a decode that is under way goes on after it, the sequence is saved as it was
    before. The context is in use meanwhile. Errors: INVALID; LIMIT (memory too small, a name too long); IO; MEMORY;
    DEVICE: the GPU failed, the next decode goes on without.""")

hybrid_seq_save_size = _function('hybrid_seq_save_size', c_uint64, [POINTER(hybrid_context), c_int32, POINTER(hybrid_save_desc)],
    """uint64_t hybrid_seq_save_size(const hybrid_context *context, int32_t seq, const hybrid_save_desc *desc)

    The bytes that it would write; 0 for a bad id.""")

hybrid_seq_load = _function('hybrid_seq_load', c_int, [POINTER(hybrid_context), c_int32, POINTER(hybrid_save_desc), POINTER(hybrid_source), POINTER(hybrid_error)],
    """hybrid_result hybrid_seq_load(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc, const hybrid_source *from, hybrid_error *error)

    Loads what hybrid_seq_save has saved into a sequence that is empty (hybrid_seq_remove from 0). There are no logits
    yet: to go on after its last token, cut that one (hybrid_seq_back says where that is possible), and add it to a
    batch again. A reader is closed when the call returns.
    Everything is checked before anything is done: a failure has changed nothing. FORMAT: these are no such bytes, or
    some are damaged or missing. UNSUPPORTED: a newer version wrote them. INVALID: of another model, of another type of
    keys and values (hybrid_context_desc.kv), into a sequence with tokens, while a decode is under way. NOT_FOUND: an
    adapter that is needed is not in desc, the sentence names it. CONTEXT_FULL; MEMORY; IO; DEVICE, as above.""")

hybrid_session_save = _function('hybrid_session_save', c_int, [POINTER(hybrid_session), POINTER(hybrid_save_desc), POINTER(hybrid_target), POINTER(hybrid_error)],
    """hybrid_result hybrid_session_save(hybrid_session *session, const hybrid_save_desc *desc, const hybrid_target *to, hybrid_error *error)

    Saves a conversation, at any moment, also in the middle of an answer or of its prompt: beside its sequence the
    messages, what was shown of the answer, the samplers with their random numbers, and where an answer that has a form
    (hybrid_session_say_json, _set_grammar) stands in it. desc may be NULL. Errors: as hybrid_seq_save.""")

hybrid_session_save_size = _function('hybrid_session_save_size', c_uint64, [POINTER(hybrid_session), POINTER(hybrid_save_desc)],
    """uint64_t hybrid_session_save_size(const hybrid_session *session, const hybrid_save_desc *desc)

    The bytes that it would write; 0 while a call is under way.""")

hybrid_session_load = _function('hybrid_session_load', c_int, [POINTER(hybrid_session), POINTER(hybrid_save_desc), POINTER(hybrid_source), POINTER(hybrid_error)],
    """hybrid_result hybrid_session_load(hybrid_session *session, const hybrid_save_desc *desc, const hybrid_source *from, hybrid_error *error)

    The session becomes the one that was saved, whatever it was doing, and the answer goes on with its next piece, to the
    stop texts that it was begun with. Its own stay: the context, user, keep, and of its next answers the stop texts, the
    grammar, max_tokens, whole, sample_forced; and always whether there are log-probabilities, and guesses. Tokens that
    are not in the cache yet are computed by the next call, as ever. Errors: as hybrid_seq_load; the session is as it
    was then. Where a GPU fails, or a reader gives other bytes than the first time, the cache of the session is empty,
    too: it computes its tokens again.

        hybrid_target to = { 0 };
        to.path = "talk.game";
        hybrid_session_save(npc, NULL, &to, &error);

        hybrid_source from = { 0 };
        from.path = "talk.game";
        if (!hybrid_session_load(npc, NULL, &from, &error)) puts(hybrid_session_next(npc));""")

hybrid_abi_check = _function('hybrid_abi_check', c_int, [c_int32, POINTER(hybrid_struct_size), c_size_t, POINTER(hybrid_error)],
    """hybrid_result hybrid_abi_check(int32_t version_number, const hybrid_struct_size *structs, size_t n, hybrid_error *error)

    Whether a caller and the library understand each other. version_number: the caller's HYBRID_VERSION_NUMBER; it may
    differ in the patch. structs: n of them, in any order, as many as the caller uses; a size of pointers or a packing
    of another kind shows there, too. HYBRID_STATIC needs no check, and passes it.
    Errors: INVALID (structs or a name is NULL), UNSUPPORTED (another version or another size; the sentence has the
    struct and both sizes), NOT_FOUND (a struct that this build does not have; a HYBRID_NO_... has cut it out, or it is
    newer). Pass NULL for error when its own size is in doubt. Needs no runtime; thread-safe.""")


STRUCTS = [
    hybrid_adapter_desc,
    hybrid_adapter_info,
    hybrid_allocator,
    hybrid_answer_desc,
    hybrid_bpe_desc,
    hybrid_bpe_info,
    hybrid_chat_desc,
    hybrid_chat_message,
    hybrid_context_desc,
    hybrid_curve_desc,
    hybrid_curve_point,
    hybrid_data_desc,
    hybrid_data_info,
    hybrid_data_position,
    hybrid_device_info,
    hybrid_embed_desc,
    hybrid_error,
    hybrid_example,
    hybrid_gguf_tensor,
    hybrid_gguf_value,
    hybrid_grammar_desc,
    hybrid_ids,
    hybrid_kernel_cache,
    hybrid_learn_desc,
    hybrid_learn_info,
    hybrid_logger,
    hybrid_logit_bias,
    hybrid_memory_plan,
    hybrid_mix_model,
    hybrid_model_desc,
    hybrid_model_info,
    hybrid_model_shape,
    hybrid_named_adapter,
    hybrid_piece,
    hybrid_predict_desc,
    hybrid_predict_metrics,
    hybrid_predict_step,
    hybrid_prompt_desc,
    hybrid_reader,
    hybrid_render_desc,
    hybrid_runtime_desc,
    hybrid_sampler_desc,
    hybrid_save_desc,
    hybrid_score_desc,
    hybrid_score_info,
    hybrid_session_desc,
    hybrid_session_info,
    hybrid_source,
    hybrid_span,
    hybrid_stream_desc,
    hybrid_stream_info,
    hybrid_string,
    hybrid_struct_size,
    hybrid_target,
    hybrid_template_desc,
    hybrid_template_limits,
    hybrid_text,
    hybrid_tokenizer_desc,
    hybrid_train_batch,
    hybrid_train_metrics,
    hybrid_train_plan,
    hybrid_trainable,
    hybrid_trainable_param,
    hybrid_trainer_desc,
    hybrid_utf8_stream,
]


def _check():
    """Whether the library's structs have the sizes of those above."""
    sizes = (hybrid_struct_size * len(STRUCTS))(*[(s.__name__.encode(), sizeof(s)) for s in STRUCTS])
    error = hybrid_error()
    if hybrid_abi_check(100, sizes, len(STRUCTS), byref(error)):
        raise ImportError("%s: %s" % (LIBRARY, error.message.decode()))


_check()
