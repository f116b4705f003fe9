/* text/pieces: what of an answer is the answer, what was thought, and what is a call of a tool. Families of models
 * write marks around these; which a model knows is read off its template, which speaks of them. Text comes token by
 * token, so a mark may arrive in pieces: what could become one is held back until it is known.
 *
 *     <think>\nHm.\n</think>\n\nYes.     Hm. is thought, Yes. is the answer; marks and the white space beside them are
 *                                        neither
 */
#ifndef HYB_TEXT_PIECES_C
#define HYB_TEXT_PIECES_C
#include "../api/stream.h"
#include "template.c"

enum {
    HYB_MARK_ANSWER = HYBRID_PIECE_ANSWER,
    HYB_MARK_THOUGHT = HYBRID_PIECE_THINKING,
    HYB_MARK_CALL = HYBRID_PIECE_TOOL_CALL,
    HYB_MARK_SAME,       /* a mark that changes nothing, and is not shown either */
    HYB_MARK_FIRST = 4,  /* only where the answer begins */
    HYB_MARK_KEY = 8,    /* a template that holds this text knows the family */
    HYB_MARK_CLOSES = 16 /* only in what is not the answer: elsewhere it is text */
};

typedef struct hyb_mark {
    const char *text;
    uint8_t family, to, flags;
} hyb_mark;

/* clang-format off */
static const hyb_mark hyb_marks[] = {
    { "<think>", 0, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "</think>", 0, HYB_MARK_ANSWER, HYB_MARK_KEY },
    { "<thought>", 1, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "</thought>", 1, HYB_MARK_ANSWER, 0 },
    { "<|thought_start|>", 2, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "<|thought_end|>", 2, HYB_MARK_ANSWER, 0 },
    { "[THINK]", 3, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "[/THINK]", 3, HYB_MARK_ANSWER, 0 },
    { "<seed:think>", 4, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "</seed:think>", 4, HYB_MARK_ANSWER, 0 },
    /* Command A */
    { "<|START_THINKING|>", 5, HYB_MARK_THOUGHT, HYB_MARK_KEY }, { "<|END_THINKING|>", 5, HYB_MARK_ANSWER, 0 },
    { "<|START_ACTION|>", 6, HYB_MARK_CALL, HYB_MARK_KEY }, { "<|END_ACTION|>", 6, HYB_MARK_ANSWER, 0 },
    { "<|START_RESPONSE|>", 7, HYB_MARK_ANSWER, HYB_MARK_KEY }, { "<|END_RESPONSE|>", 7, HYB_MARK_ANSWER, 0 },
    { "<|START_TEXT|>", 8, HYB_MARK_ANSWER, HYB_MARK_KEY }, { "<|END_TEXT|>", 8, HYB_MARK_ANSWER, 0 },
    /* Hermes, Qwen, GLM, SmolLM3; Jamba; Nemotron; Seed */
    { "<tool_call>", 9, HYB_MARK_CALL, HYB_MARK_KEY }, { "</tool_call>", 9, HYB_MARK_ANSWER, 0 },
    { "<tool_calls>", 10, HYB_MARK_CALL, HYB_MARK_KEY }, { "</tool_calls>", 10, HYB_MARK_ANSWER, 0 },
    { "<TOOLCALL>", 11, HYB_MARK_CALL, HYB_MARK_KEY }, { "</TOOLCALL>", 11, HYB_MARK_ANSWER, 0 },
    { "<seed:tool_call>", 12, HYB_MARK_CALL, HYB_MARK_KEY }, { "</seed:tool_call>", 12, HYB_MARK_ANSWER, 0 },
    /* MiniCPM, LFM2; Kimi; DeepSeek; Mistral; Llama 3; Granite, Phi 4 */
    { "<|tool_call_start|>", 13, HYB_MARK_CALL, HYB_MARK_KEY }, { "<|tool_call_end|>", 13, HYB_MARK_ANSWER, 0 },
    { "<|tool_calls_section_begin|>", 14, HYB_MARK_CALL, HYB_MARK_KEY },
    { "<|tool_calls_section_end|>", 14, HYB_MARK_ANSWER, 0 },
    { "<\xEF\xBD\x9Ctool\xE2\x96\x81" "calls\xE2\x96\x81" "begin\xEF\xBD\x9C>", 15, HYB_MARK_CALL, HYB_MARK_KEY },
    { "<\xEF\xBD\x9Ctool\xE2\x96\x81" "calls\xE2\x96\x81" "end\xEF\xBD\x9C>", 15, HYB_MARK_ANSWER, 0 },
    { "[TOOL_CALLS]", 16, HYB_MARK_CALL, HYB_MARK_KEY },
    { "<|python_tag|>", 17, HYB_MARK_CALL, HYB_MARK_KEY },
    { "<|tool_call|>", 18, HYB_MARK_CALL, HYB_MARK_KEY }, { "<|/tool_call|>", 18, HYB_MARK_ANSWER, 0 },
    /* firefunction */
    { "<functioncall>", 19, HYB_MARK_CALL, HYB_MARK_KEY }, { "</functioncall>", 19, HYB_MARK_ANSWER, 0 },
    { "<plain>", 19, HYB_MARK_ANSWER, HYB_MARK_FIRST },
    /* Command R */
    { "Action:\n```json\n", 20, HYB_MARK_CALL, HYB_MARK_KEY }, { "Action: ```json\n", 20, HYB_MARK_CALL, 0 },
    { "```", 20, HYB_MARK_ANSWER, HYB_MARK_CLOSES },
    /* functionary 2: whom it speaks to, and what it says; 3.2: >>>name, a line break, and what it says */
    { "<|recipient|>", 21, HYB_MARK_CALL, HYB_MARK_KEY },
    { "<|recipient|>all\n<|content|>", 21, HYB_MARK_ANSWER, 0 }, { "<|content|>", 21, HYB_MARK_SAME, 0 },
    { "all\n<|content|>", 21, HYB_MARK_ANSWER, HYB_MARK_FIRST }, { "<|from|>assistant\n", 21, HYB_MARK_SAME, 0 },
    { ">>>all\n", 22, HYB_MARK_ANSWER, HYB_MARK_KEY }, { ">>>", 22, HYB_MARK_CALL, 0 },
    { "all\n", 22, HYB_MARK_ANSWER, HYB_MARK_FIRST },
    /* gpt-oss: channels; the name of a tool is what a call begins with */
    { "<|channel|>", 23, HYB_MARK_SAME, HYB_MARK_KEY }, { "<|channel|>analysis", 23, HYB_MARK_THOUGHT, 0 },
    { "<|channel|>final", 23, HYB_MARK_ANSWER, 0 }, { "<|channel|>commentary", 23, HYB_MARK_SAME, 0 },
    { "<|channel|>commentary json", 23, HYB_MARK_SAME, 0 }, { "<|channel|>commentary to=", 23, HYB_MARK_CALL, 0 },
    { "<|start|>assistant", 23, HYB_MARK_ANSWER, 0 }, { "<|start|>assistant to=", 23, HYB_MARK_CALL, 0 },
    { " to=", 23, HYB_MARK_CALL, HYB_MARK_FIRST }, { "<|message|>", 23, HYB_MARK_SAME, 0 },
    { "<|constrain|>json", 23, HYB_MARK_SAME, 0 }, { "<|end|>", 23, HYB_MARK_SAME, 0 }
};
/* clang-format on */

enum { HYB_MARK_LONGEST = 48, HYB_PIECE_BLANKS = 32, HYB_PIECE_RUNS = 16 };

/* A part of the text that came out: so many bytes of one kind. */
typedef struct hyb_piece_run {
    size_t size;
    hybrid_piece_kind kind;
} hyb_piece_run;

/* A splitter. What comes out of a call is in the caller's buffers: out, in runs, and kept, which is everything but what
 * was thought, as the model wrote it: what later prompts show of the answer. Both have room for what is fed and
 * HYB_PIECE_MORE. */
enum { HYB_PIECE_MORE = HYB_MARK_LONGEST + HYB_PIECE_BLANKS };
typedef struct hyb_pieces {
    uint64_t known;   /* a bit for each mark that the model's template knows; 0: all is the answer */
    bool begins[256]; /* the first bytes of these */
    hybrid_piece_kind kind;
    bool first, skip; /* nothing came yet; white space after a mark is left out */
    bool after;       /* a thought has ended, and only white space has come since */
    char held[HYB_MARK_LONGEST];
    bool hidden[HYB_MARK_LONGEST]; /* of a control token: shown in calls only, whose readers are programs */
    size_t n_held;
    char blanks[HYB_PIECE_BLANKS]; /* white space that may stand before a mark */
    size_t n_blanks;
    char *out, *kept;
    size_t n_out, n_kept, n_runs;
    hyb_piece_run runs[HYB_PIECE_RUNS];
} hyb_pieces;

static bool hyb_mark_is(const hyb_pieces *p, size_t i) { return p->known >> i & 1; }

/* Which marks a template knows: those of every family that it speaks of. */
static void hyb_pieces_open(hyb_pieces *p, const char *text, size_t n)
{
    uint32_t families = 0;
    size_t i;
    memset(p, 0, sizeof *p);
    for (i = 0; i < HYB_COUNT(hyb_marks); i++) {
        const hyb_mark *m = &hyb_marks[i];
        char escaped[HYB_MARK_LONGEST];
        size_t k, size = 0;
        if (!(m->flags & HYB_MARK_KEY)) continue;
        for (k = 0; m->text[k] && size < sizeof escaped - 2; k++) { /* as a template writes it: "\n" */
            if (m->text[k] == '\n') escaped[size++] = '\\';
            escaped[size++] = m->text[k] == '\n' ? 'n' : m->text[k];
        }
        if (hyb_jfind(text, n, m->text, k, 0) != SIZE_MAX || hyb_jfind(text, n, escaped, size, 0) != SIZE_MAX)
            families |= 1u << m->family;
    }
    for (i = 0; i < HYB_COUNT(hyb_marks); i++) {
        if (!(families >> hyb_marks[i].family & 1)) continue;
        p->known |= (uint64_t)1 << i;
        p->begins[(unsigned char)hyb_marks[i].text[0]] = true;
    }
}

/* An answer begins. ends: what the prompt ends with; an opening mark there was written for the model. */
static void hyb_pieces_begin(hyb_pieces *p, const char *ends, size_t n)
{
    size_t i, size, longest = 0;
    p->kind = HYBRID_PIECE_ANSWER;
    p->first = true;
    p->skip = p->after = false;
    p->n_held = p->n_blanks = p->n_out = p->n_kept = p->n_runs = 0;
    while (n && (unsigned char)ends[n - 1] <= ' ') n--;
    for (i = 0; i < HYB_COUNT(hyb_marks); i++) {
        size = strlen(hyb_marks[i].text);
        if (!hyb_mark_is(p, i) || hyb_marks[i].to == HYB_MARK_SAME || (hyb_marks[i].flags & HYB_MARK_FIRST) ||
            size > n || size <= longest || memcmp(ends + n - size, hyb_marks[i].text, size))
            continue;
        longest = size;
        p->kind = (hybrid_piece_kind)hyb_marks[i].to;
        p->skip = true;
    }
}

static void hyb_pieces_out(hyb_pieces *p, const char *bytes, size_t n)
{
    hyb_piece_run *run = p->n_runs ? &p->runs[p->n_runs - 1] : NULL;
    if (!n) return;
    if (!run || (run->kind != p->kind && p->n_runs < HYB_PIECE_RUNS)) {
        run = &p->runs[p->n_runs++];
        run->size = 0;
        run->kind = p->kind;
    }
    memcpy(p->out + p->n_out, bytes, n);
    p->n_out += n;
    run->size += n;
}

/* A byte that is part of no mark. */
static void hyb_pieces_text(hyb_pieces *p, char c, bool hidden)
{
    const bool blank = (unsigned char)c <= ' ' && c != 0;
    if (hidden && p->kind != HYBRID_PIECE_TOOL_CALL) return;
    if (p->kind != HYBRID_PIECE_THINKING && !(blank && p->after)) p->kept[p->n_kept++] = c;
    if (!blank) p->after = false;
    if (blank && p->skip) return;
    if (blank && (p->kind != HYBRID_PIECE_ANSWER || p->first) && p->n_blanks < HYB_PIECE_BLANKS) {
        p->blanks[p->n_blanks++] = c;
        return;
    }
    p->skip = p->first = false;
    hyb_pieces_out(p, p->blanks, p->n_blanks);
    p->n_blanks = 0;
    hyb_pieces_out(p, &c, 1);
}

static void hyb_pieces_mark(hyb_pieces *p, const hyb_mark *m)
{
    const size_t n = strlen(m->text);
    p->first = false;
    if (p->kind != HYBRID_PIECE_THINKING && m->to != HYB_MARK_THOUGHT) {
        memcpy(p->kept + p->n_kept, m->text, n);
        p->n_kept += n;
    }
    if (m->to == HYB_MARK_SAME) return;
    p->after = p->kind == HYBRID_PIECE_THINKING && m->to != HYB_MARK_THOUGHT;
    p->n_blanks = 0;
    p->skip = true;
    p->kind = (hybrid_piece_kind)m->to;
}

/* The longest mark that what is held begins with, or NULL; *open: it may yet become a longer one. */
static const hyb_mark *hyb_pieces_match(const hyb_pieces *p, bool *open)
{
    const hyb_mark *best = NULL;
    size_t i, longest = 0;
    *open = false;
    for (i = 0; i < HYB_COUNT(hyb_marks); i++) {
        const hyb_mark *m = &hyb_marks[i];
        size_t n;
        if (!hyb_mark_is(p, i) || *m->text != *p->held) continue;
        if ((m->flags & HYB_MARK_FIRST && !p->first) || (m->flags & HYB_MARK_CLOSES && p->kind == HYBRID_PIECE_ANSWER))
            continue;
        n = strlen(m->text);
        if (memcmp(m->text, p->held, HYB_MIN(n, p->n_held))) continue;
        if (n > p->n_held)
            *open = true;
        else if (n > longest) {
            longest = n;
            best = m;
        }
    }
    return best;
}

/* Decides on what is held, as far as that can be; end: nothing more comes. */
static void hyb_pieces_settle(hyb_pieces *p, bool end)
{
    while (p->n_held) {
        bool open = false;
        const hyb_mark *m = p->begins[(unsigned char)*p->held] ? hyb_pieces_match(p, &open) : NULL;
        const size_t n = m ? strlen(m->text) : 1;
        if (open && !end) return;
        if (m)
            hyb_pieces_mark(p, m);
        else
            hyb_pieces_text(p, *p->held, *p->hidden);
        p->n_held -= n;
        memmove(p->held, p->held + n, p->n_held);
        memmove(p->hidden, p->hidden + n, p->n_held * sizeof *p->hidden);
    }
}

/* Bytes of the answer; control: the name of a control token, which is no text. The text adds to what is in out: see
 * hyb_pieces_take. */
static void hyb_pieces_feed(hyb_pieces *p, const char *bytes, size_t n, bool control)
{
    size_t i;
    for (i = 0; i < n; i++) {
        p->held[p->n_held] = bytes[i];
        p->hidden[p->n_held++] = control;
        hyb_pieces_settle(p, false);
    }
}
static void hyb_pieces_end(hyb_pieces *p)
{
    hyb_pieces_settle(p, true);
    if (p->kind == HYBRID_PIECE_ANSWER) hyb_pieces_out(p, p->blanks, p->n_blanks);
    p->n_blanks = 0;
}
static void hyb_pieces_take(hyb_pieces *p) { p->n_out = p->n_kept = p->n_runs = 0; }
#endif
