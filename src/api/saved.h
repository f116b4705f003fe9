/* ---- saved games: sequences and conversations as bytes, and back ------------------------------------------------- */
#ifndef HYB_API_SAVED_H
#define HYB_API_SAVED_H
#include "adapter.h"
#ifndef HYBRID_NO_TEXT
    #include "session.h"
#endif

/* What is loaded goes on with the bits with which the saved one would have gone on: in another process, with other
 * threads, on another instruction set. From and to a GPU it is as near as the GPU is to the CPU.
 *
 * Bytes: a head of 32, parts of 16 and what is in them, a checksum of 8: a damaged byte is found wherever it is. All
 * numbers are little-endian. A token costs 8 bytes and its keys and values: hybrid_seq_save_size tells, and for layers
 * with attention it is 2 * kv heads * head size values each, of 2 bytes (F16), 34 bytes for 32 values (Q8_0) or 4 bytes
 * (F32): with SmolLM2-135M 23 KB, 12.2 KB, 46 KB a token. A recurrent state is of one size, however long the text.
 *
 * A version of hybrid reads what versions before it have written. */

/* Where bytes go: exactly one of the three. */
typedef struct hybrid_target {
    const char *path; /* a file: it gets its name when it is complete and on the disk. A failure leaves the old one */
    hybrid_write_fn write; /* gets the bytes in order; what it got before a failure is worth nothing */
    void *user;            /* of write */
    void *data;            /* memory of `capacity` bytes */
    size_t capacity;       /* of data. LIMIT, with the number that is needed, when it is too small */
} hybrid_target;

/* An adapter that a saved sequence wears, or that its tokens were read with. It is known by its values; the name is for
 * people. */
typedef struct hybrid_named_adapter {
    const char *id; /* zero-terminated, at most 255 bytes; NULL: "" */
    hybrid_adapter *adapter;
} hybrid_named_adapter;

/* Zero keeps everything. */
typedef struct hybrid_save_desc {
    /* To save: only the tokens, 8 bytes each; loading computes the rest from them, and takes the time of a prompt. A
     * recurrent state cannot be cut then where its last decode began. */
    bool recompute;
    /* To save: the names of adapters, where they have any. To load: those that saved sequences may have worn. */
    const hybrid_named_adapter *adapters;
    size_t n_adapters;
} hybrid_save_desc;

/* Saves a sequence: its tokens, what the cache holds of them, and which adapters it wears. desc may be NULL. What is
 * queued in a batch is not part of it; a decode that is under way goes on after it, the sequence is saved as it was
 * before. The context is in use meanwhile. Errors: INVALID; LIMIT (memory too small, a name too long); IO; MEMORY;
 * DEVICE: the GPU failed, the next decode goes on without. */
HYBRID_API hybrid_result hybrid_seq_save(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                         const hybrid_target *to, hybrid_error *error);
/* The bytes that it would write; 0 for a bad id. */
HYBRID_API uint64_t hybrid_seq_save_size(const hybrid_context *context, int32_t seq, const hybrid_save_desc *desc);

/* Loads what hybrid_seq_save has saved into a sequence that is empty (hybrid_seq_remove from 0). There are no logits
 * yet: to go on after its last token, cut that one (hybrid_seq_back says where that is possible), and add it to a
 * batch again. A reader is closed when the call returns.
 * Everything is checked before anything is done: a failure has changed nothing. FORMAT: these are no such bytes, or
 * some are damaged or missing. UNSUPPORTED: a newer version wrote them. INVALID: of another model, of another type of
 * keys and values (hybrid_context_desc.kv), into a sequence with tokens, while a decode is under way. NOT_FOUND: an
 * adapter that is needed is not in desc, the sentence names it. CONTEXT_FULL; MEMORY; IO; DEVICE, as above. */
HYBRID_API hybrid_result hybrid_seq_load(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                         const hybrid_source *from, hybrid_error *error);

#ifndef HYBRID_NO_TEXT
/* Saves a conversation, at any moment, also in the middle of an answer or of its prompt: beside its sequence the
 * messages, what was shown of the answer, the samplers with their random numbers, and where an answer that has a form
 * (hybrid_session_say_json, _set_grammar) stands in it. desc may be NULL. Errors: as hybrid_seq_save. */
HYBRID_API hybrid_result hybrid_session_save(hybrid_session *session, const hybrid_save_desc *desc,
                                             const hybrid_target *to, hybrid_error *error);
/* The bytes that it would write; 0 while a call is under way. */
HYBRID_API uint64_t hybrid_session_save_size(const hybrid_session *session, const hybrid_save_desc *desc);

/* The session becomes the one that was saved, whatever it was doing, and the answer goes on with its next piece, to the
 * stop texts that it was begun with. Its own stay: the context, user, keep, and of its next answers the stop texts, the
 * grammar, max_tokens, whole, sample_forced; and always whether there are log-probabilities, and guesses. Tokens that
 * are not in the cache yet are computed by the next call, as ever. Errors: as hybrid_seq_load; the session is as it
 * was then. Where a GPU fails, or a reader gives other bytes than the first time, the cache of the session is empty,
 * too: it computes its tokens again.
 *
 *     hybrid_target to = { 0 };
 *     to.path = "talk.game";
 *     hybrid_session_save(npc, NULL, &to, &error);
 *
 *     hybrid_source from = { 0 };
 *     from.path = "talk.game";
 *     if (!hybrid_session_load(npc, NULL, &from, &error)) puts(hybrid_session_next(npc));
 */
HYBRID_API hybrid_result hybrid_session_load(hybrid_session *session, const hybrid_save_desc *desc,
                                             const hybrid_source *from, hybrid_error *error);
#endif
#endif
