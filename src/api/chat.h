/* ---- chat: templates that make a prompt of a conversation -------------------------------------------------------- */
#ifndef HYB_API_CHAT_H
#define HYB_API_CHAT_H
#include "runtime.h"

/* Models are trained on conversations written in one particular way; a file carries that way as a Jinja template.
 * Templates are foreign text: they run in a sandbox (nothing but their input is within reach) and within limits, and
 * whatever they do, the worst is an error.
 *
 *     hybrid_template *chatml;
 *     hybrid_text prompt = { 0 };
 *     hybrid_chat_message talk[] = { { "system", "Be brief." }, { "user", "Hello!" } };
 *     hybrid_template_create(NULL, NULL, &chatml, &err);
 *     hybrid_chat_render(chatml, talk, 2, &(hybrid_chat_desc){ .add_generation_prompt = true }, &prompt, &err);
 *     puts(prompt.data);
 *     hybrid_tokenize_spans(tok, prompt.data, prompt.size, prompt.own, prompt.n_own, 0, ids, room, &n_ids, &err);
 *     hybrid_text_free(&prompt);
 *     hybrid_template_destroy(chatml);
 *
 * What is understood: all expressions of Jinja; if, for (else, if, recursive), set, macro, call, filter, with, raw,
 * print, break, continue, generation; range, dict, namespace, raise_exception, strftime_now; Jinja's filters and tests
 * but for filesizeformat, random, striptags, urlize, wordwrap, xmlattr; Python's methods of str (but encode, maketrans,
 * translate), and those of list and dict that change nothing. Values are what they are in Python: ranges and generators
 * are not lists, text can be marked safe.
 * What is not: include, import, extends, block, trans, do; arithmetic beyond 64 bits. Errors name line and column of
 * the template.
 *
 * Whose words are whose: a prompt is made of the template's own words and of those of strangers (the values of
 * messages, tools and other variables), and only the former may become control tokens: whoever writes "<|im_end|>" in a
 * message has written ten letters. Every rendering says which of its bytes are the template's own, however the template
 * cut, joined, escaped or recased what it was given; in doubt, a byte is a stranger's. Beside what stands in the
 * template, its own are the values of bos_token and the other special tokens, numbers that it counted, and the role of
 * a message when it is a usual one (system, developer, user, assistant, tool, function, ipython, model,
 * observation...), as templates make tokens of roles: '<|' + role + '|>'. hybrid_tokenize_spans reads that. */

/* Text that hybrid makes for you. Start with zero; use it for as many calls as you like, its memory is used again; end
 * with hybrid_text_free. data: size bytes and a zero byte (NULL until something was written). After a failure it is
 * empty. */
typedef struct hybrid_text {
    char *data;
    size_t size;
    size_t capacity; /* yours to read only, like runtime: where the memory is from */
    hybrid_runtime *runtime;
    hybrid_span *own; /* n_own, in their order and apart from each other: the words of the template itself */
    size_t n_own, own_capacity;
} hybrid_text;

/* Gives the memory back and makes text zero again. NULL is fine. */
HYBRID_API void hybrid_text_free(hybrid_text *text);

typedef struct hybrid_template hybrid_template;

/* Whose Jinja: that of Python (jinja2 as transformers uses it: what models were trained with), or that of
 * huggingface.js. They differ in little: the latter prints true, null and JSON where Python prints True, None and
 * its own notation, and joins text and numbers by +. */
typedef enum hybrid_template_dialect { HYBRID_TEMPLATE_PYTHON = 0, HYBRID_TEMPLATE_JS = 1 } hybrid_template_dialect;

/* The template of ChatML: what NULL stands for, and the best guess for a model that carries none. */
#define HYBRID_TEMPLATE_CHATML \
    "{% for message in messages %}" \
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* What llama.cpp calls rwkv-world: files of RWKV models hold that name in the place of a template. */
#define HYBRID_TEMPLATE_RWKV_WORLD \
    "{% for message in messages %}" \
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}" \
    "{{ raise_exception('RWKV has no role ' + message['role']) }}{% endif %}" \
    "{{ message['role'] | capitalize + ': ' + message['content'] | trim + '\\n\\n' }}{% endfor %}" \
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"

typedef struct hybrid_template_desc {
    const char *text; /* the template, UTF-8, at most 16 MB; NULL: HYBRID_TEMPLATE_CHATML. It is copied. */
    size_t size;      /* bytes; 0: text ends with a zero byte */
    hybrid_template_dialect dialect;
    /* keep the line break after a {% tag %} (chat templates are written for its removal) */
    bool no_trim_blocks;
    bool no_lstrip_blocks; /* keep the blanks before a {% tag %} that begins a line */
} hybrid_template_desc;

/* Parses a template; desc may be NULL. Errors: INVALID, FORMAT (the template is wrong: line and column), UNSUPPORTED (a
 * tag that chat templates do not have), LIMIT (too large, or some hundred brackets or blocks in each other), MEMORY. A
 * template is not changed by rendering: several threads may use one at a time. */
HYBRID_API hybrid_result hybrid_template_create(hybrid_runtime *runtime, const hybrid_template_desc *desc,
                                                hybrid_template **tmpl, hybrid_error *error);
HYBRID_API void hybrid_template_destroy(hybrid_template *tmpl);

/* What one rendering may use; beyond it the result is HYBRID_ERROR_LIMIT. 0 stands for the number in brackets. */
typedef struct hybrid_template_limits {
    size_t max_memory; /* bytes of all values together [256 MB] */
    size_t max_output; /* bytes [64 MB] */
    /* about one a node that is computed, and one per 16 bytes that are moved [100 million: some seconds] */
    uint64_t max_steps;
    int32_t max_depth; /* of nested blocks, calls and values [500]; at most 10000; besides, nothing that a
                      template does takes more than 64 KB of the thread's stack, which is measured: then the result is
                      LIMIT too */
} hybrid_template_limits;

typedef struct hybrid_render_desc {
    const char *context; /* a JSON object: the variables of the template; NULL: none */
    size_t context_size; /* bytes; 0: context ends with a zero byte */
    int64_t now;         /* for strftime_now: seconds since 1970 UTC; 0: the system's clock */
    int32_t utc_offset;  /* minutes that local time is ahead of UTC: 120 for UTC+2 */
    hybrid_template_limits limits;
} hybrid_render_desc;

/* Renders a template with any variables (for conversations hybrid_chat_render is easier). desc may be NULL.
 * Errors: INVALID (also: the template called raise_exception; the message holds its words), FORMAT (an operation that
 * makes no sense, say a sum of text and a number; or context is not a JSON object), UNSUPPORTED (an unknown filter or
 * test), LIMIT, MEMORY. */
HYBRID_API hybrid_result hybrid_template_render(const hybrid_template *tmpl, const hybrid_render_desc *desc,
                                                hybrid_text *out, hybrid_error *error);

/* One turn. Zero-terminated UTF-8; role is "system", "user", "assistant", "tool" or what else the model knows.
 * content may be NULL: none. */
typedef struct hybrid_chat_message {
    const char *role, *content;
} hybrid_chat_message;

typedef struct hybrid_chat_desc {
    bool add_generation_prompt; /* end with what opens the assistant's turn */
    bool merge_system; /* where a template refuses or drops a system message: put it before the first user message
                          (text, newline, text) instead of failing or losing it. Transformers does not do this. */
    const char *bos_token, *eos_token; /* the model's; NULL: undefined in the template */
    const char *messages; /* a JSON array of objects, used instead of the array: tool calls, parts, reasoning... */
    const char *tools;    /* a JSON array of tool definitions; NULL: None */
    const char *extra;    /* a JSON object with more variables: {"enable_thinking": false}; they win over all others */
    int64_t now;          /* as in hybrid_render_desc */
    int32_t utc_offset;
    hybrid_template_limits limits;
    const char *unk_token, *sep_token, *pad_token, *cls_token, *mask_token; /* as bos_token */
} hybrid_chat_desc;

/* Makes the prompt of a conversation, with the variables that transformers' apply_chat_template gives: messages, tools,
 * documents (None), add_generation_prompt, the special tokens. As there, members of a message that are null are not
 * passed on, and what was thought ("reasoning_content", "thinking" or "reasoning") is passed on as "reasoning_content"
 * and "thinking". The text holds the special tokens in writing (often bos_token first): hybrid_tokenize_spans makes
 * tokens of those that out->own covers; hybrid_tokenize with HYBRID_TOKENIZE_PARSE_SPECIAL, as transformers does it, of
 * all, those in the words of strangers included. Add none. n may be 0; desc may be NULL. Errors: as
 * hybrid_template_render. */
HYBRID_API hybrid_result hybrid_chat_render(const hybrid_template *tmpl, const hybrid_chat_message *messages, size_t n,
                                            const hybrid_chat_desc *desc, hybrid_text *out, hybrid_error *error);
#endif
