/* ---- grammar: answers with a form -------------------------------------------------------------------------------- */
#ifndef HYB_API_GRAMMAR_H
#define HYB_API_GRAMMAR_H
#include "tokenizer.h"

/* A grammar says which texts are allowed; a matcher follows a text byte by byte and knows what may come next. So a
 * model that is asked only for tokens that the matcher allows writes a text of that form, whatever its weights say.
 *
 *     hybrid_grammar_create(NULL, &(hybrid_grammar_desc){ .gbnf = "root ::= (\"yes\" | \"no\") \"!\"" }, &grammar,
 * &err); hybrid_matcher_create(grammar, NULL, &matcher, &err); hybrid_matcher_accept(matcher, "yes", 3, &err);
 *     hybrid_matcher_can_end(matcher); // false: the exclamation mark is missing
 *
 * Grammars are foreign text, as templates are: whatever they say, the worst is an error. Nothing recurses, and all
 * memory has a limit. */
typedef struct hybrid_grammar hybrid_grammar;

/* Exactly one of gbnf and schema. What the fields point to is copied. */
typedef struct hybrid_grammar_desc {
    /* GBNF, the notation of llama.cpp: rules `name ::= ...` in any order, the first to be matched is `root`; "text" and
     * [a-z] [^a-z] with the escapes \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH; `.` (any character), groups in
     * brackets, | * + ? {m} {m,} {m,n}, and comments from # to the end of the line. A rule that begins with itself
     * (left recursion) is refused. */
    const char *gbnf;
    size_t gbnf_size; /* bytes; 0: gbnf ends with a zero byte */

    /* JSON Schema (drafts 7 and 2020-12): the texts are the values that fit it, each written in one way only:
     *   - no space but one that may follow a comma or a colon; no line ends;
     *   - members in the order of `properties` (of a $ref, allOf... in the order in which they are met), then what is
     *     `required` besides, then others with any names; what is not required may be left out;
     *   - characters as themselves, but \" \\ \b \f \n \r \t and \u00xx (small letters) for those that must
     *     not be;
     *   - whole numbers without a point (at most 18 digits; -0 is 0), others with one (at most 15), both exactly as
     *     bounds see them; with an exponent of at most 2 digits where nothing bounds them; those of enum and const
     *     with all their digits. A "number" may be whole and have zeros after a point.
     * Read are: type, enum, const, properties, required, additionalProperties, patternProperties, propertyNames,
     * min/maxProperties, items, prefixItems, additionalItems, min/maxItems, min/maxLength, pattern (ECMAScript without
     * looking around, back references, \b and \p), format (date, date-time, time, email, ipv4, uuid: it always
     * constrains, and is narrower than its standard: no leap seconds, T and Z in capitals, no quotes in addresses),
     * minimum, maximum, exclusiveMinimum/Maximum, multipleOf (whole numbers from 1 to 4096), $ref inside of the schema,
     * with recursion, allOf, anyOf, oneOf, not, if/then/else, dependentRequired, dependentSchemas, dependencies; and
     * what only describes. Any other keyword, and one of these where it cannot be kept (a `not` of lists, say), is
     * refused by name (UNSUPPORTED): nothing is ignored. $schema tells the draft; without it, it is 2020-12. */
    const char *schema;
    size_t schema_size; /* bytes; 0: schema ends with a zero byte */

    /* The grammar begins in the middle of the text ("<tool_call>\n"): right after the place where these bytes occur for
     * the first time, which may be in the middle of a token. Until then the text is free, may end, and may have control
     * tokens, whose names count as its bytes; when they never occur it is free to its end. 1 to 255 bytes, zero-
     * terminated; NULL: the grammar is of the whole text. */
    const char *trigger;
} hybrid_grammar_desc;

/* runtime may be NULL. Errors: FORMAT (the text is wrong: the sentence names the line or the place in the schema,
 * offset the byte; or no text can be one of the grammar), UNSUPPORTED (a keyword, see above), LIMIT (more than 262144
 * positions when all repetitions are written out, or too many ways to fit a schema), MEMORY, INVALID. A grammar is not
 * changed by its matchers: several threads may use it at a time. It must outlive them. */
HYBRID_API hybrid_result hybrid_grammar_create(hybrid_runtime *runtime, const hybrid_grammar_desc *desc,
                                               hybrid_grammar **grammar, hybrid_error *error);
HYBRID_API void hybrid_grammar_destroy(hybrid_grammar *grammar);

typedef struct hybrid_matcher hybrid_matcher;

/* A matcher at the beginning of a text. One thread at a time. It takes at most 32 MB, and for masks at most 32 times 16
 * kB and a bit for each token of the vocabulary (1.1 MB for 152,000 tokens), however long the text gets
 * (8192 states with a place for each of 256 bytes, 524288 pairs of
 * positions, and what one step needs): what it keeps grows with how deep the text nests, and with how many ways there
 * are to read it, not with its length. Then it forgets what it can compute again, or says LIMIT. */
HYBRID_API hybrid_result hybrid_matcher_create(const hybrid_grammar *grammar, hybrid_matcher **matcher,
                                               hybrid_error *error);
HYBRID_API void hybrid_matcher_destroy(hybrid_matcher *matcher);

/* The text goes on with these bytes. FORMAT: it may not (offset: the first byte that does not fit); LIMIT: the text
 * nests too deep, or can be read in too many ways at once; MEMORY; INVALID. Then nothing has changed. */
HYBRID_API hybrid_result hybrid_matcher_accept(hybrid_matcher *matcher, const void *bytes, size_t size,
                                               hybrid_error *error);

/* Whether the text may end here. */
HYBRID_API bool hybrid_matcher_can_end(const hybrid_matcher *matcher);

/* The bytes that must come next, as far as there is no choice, into text (capacity bytes). Returns their number: 0
 * where there is a choice, where the text may end, or where memory is short. */
HYBRID_API size_t hybrid_matcher_forced(hybrid_matcher *matcher, char *text, size_t capacity);

/* What masks need to know of a vocabulary: the bytes of all tokens. Made once for each tokenizer (140 ms for 152,000
 * tokens), of which it keeps nothing; used by any number of matchers, which it must outlive. It does not change:
 * several threads may use it at a time. hybrid_plan does not know of it. With pointers of 64 bits it takes 68 to 93
 * bytes for each token, and up to 148 while it is made. Measured:
 *
 *     tokens     bytes                                    tokens     bytes
 *      32,000     2,163,209   Llama 2                    151,669    13,240,421   Qwen 2
 *      49,152     3,731,803   SmolLM2                    262,144    24,439,734   Gemma 3
 *
 * A session makes one for itself when it gets its first grammar. Errors: LIMIT (a token of more than 65,535 bytes),
 * MEMORY, INVALID. */
typedef struct hybrid_lexicon hybrid_lexicon;
HYBRID_API hybrid_result hybrid_lexicon_create(const hybrid_tokenizer *tokenizer, hybrid_lexicon **lexicon,
                                               hybrid_error *error);
HYBRID_API void hybrid_lexicon_destroy(hybrid_lexicon *lexicon);

/* The tokens that the text may go on with: bit id % 32 of (*mask)[id / 32]; *n_words words, valid until the next call
 * for this matcher. Tokens that end an answer are among them exactly where the text may end; other control tokens only
 * before a trigger. 32 masks are kept, and places of a grammar that allow the same tokens share one: most calls find
 * theirs. A new one takes some tens of us, and 0.5 to 1 ms where letters matter one by one in long texts
 * ([^aeiou]{1,100}; the worst that was found: 2 ms; times for 152,000 tokens, 3 GHz). Errors: LIMIT, as
 * hybrid_matcher_accept; MEMORY; INVALID. */
HYBRID_API hybrid_result hybrid_matcher_mask(hybrid_matcher *matcher, const hybrid_lexicon *lexicon,
                                             const uint32_t **mask, size_t *n_words, hybrid_error *error);

/* hybrid_matcher_accept with the bytes of a token. One that ends an answer is accepted where the text may end, and
 * changes nothing. */
HYBRID_API hybrid_result hybrid_matcher_accept_token(hybrid_matcher *matcher, const hybrid_lexicon *lexicon, int32_t id,
                                                     hybrid_error *error);

/* Back to the beginning of a text. */
HYBRID_API void hybrid_matcher_reset(hybrid_matcher *matcher);
#endif
