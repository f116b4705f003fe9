/* What was thought, what is the answer and what is a call of a tool: the messages of an assistant, as the templates of
 * shared/data/jinja and of tests/oracle/data/jinja.json write them, are split again into what went in; and marks by
 * hand, cut at every byte. [no-simd] */
#include "private.h"

static hybrid_runtime *rt;

typedef struct split {
    char text[3][4000]; /* by kind */
    char kept[4000];
} split;

/* Text in steps of so many bytes; what lies between \1 and \2 is the name of a control token. */
static void split_text(hyb_pieces *p, const char *text, size_t n, size_t step, split *s)
{
    char out[8000 + HYB_PIECE_MORE], kept[8000 + HYB_PIECE_MORE];
    size_t i, k, at, size;
    memset(s, 0, sizeof *s);
    for (i = 0; i <= n; i += size) {
        const char *end = i < n && text[i] == 1 ? (const char *)memchr(text + i, 2, n - i) : NULL;
        size = end ? (size_t)(end - text) + 1 - i : HYB_MIN(step, n - i);
        for (k = 1; !end && k < size && text[i + k] != 1; k++) {}
        if (!end && size) size = k;
        p->out = out;
        p->kept = kept;
        hyb_pieces_take(p);
        if (i < n)
            hyb_pieces_feed(p, text + i + (end != NULL), end ? size - 2 : size, end != NULL);
        else
            hyb_pieces_end(p);
        CHECK(p->n_out <= size + HYB_PIECE_MORE, "%lu bytes of %lu", (unsigned long)p->n_out, (unsigned long)size);
        strncat(s->kept, kept, p->n_kept);
        for (k = at = 0; k < p->n_runs; at += p->runs[k++].size)
            strncat(s->text[p->runs[k].kind], out + at, p->runs[k].size);
        if (i == n) break;
    }
}

static void trimmed(char *text)
{
    char *p = text;
    size_t n;
    while (*p && (unsigned char)*p <= ' ') p++;
    for (n = strlen(p); n && (unsigned char)p[n - 1] <= ' ';) n--;
    memmove(text, p, n);
    text[n] = 0;
}

/* ---- by hand ---- */

typedef struct hand {
    const char *tmpl, *prompt, *text, *answer, *thought, *call;
} hand;

/* clang-format off */
static const hand hands[] = {
    { "", "", "<think>a</think>b", "<think>a</think>b", "", "" },
    { "<think>", "", "<think>\na b\n</think>\n\nc d\n", "c d\n", "a b", "" },
    { "</think>", "x<think>\n", "a\n\n</think>c", "c", "a", "" },
    { "</think>", "<think>\n\n</think>\n\n", "c", "c", "", "" },
    { "<think>", "<think> x", "c", "c", "", "" },
    { "<think>", "", "  a < b <thin <think >", "  a < b <thin <think >", "", "" },
    { "<think>", "", "a <thi", "a <thi", "", "" },
    { "<think>", "", "a<think>b</thi", "a", "b</thi", "" },
    { "<tool_call>", "", "So:\n<tool_call>\n{\"a\": 1}\n</tool_call>\n<tool_call>\n{}\n</tool_call>", "So:\n", "",
      "{\"a\": 1}{}" },
    { "[TOOL_CALLS]", "", "\1[TOOL_CALLS]\2[{\"name\": \"f\"}]", "", "", "[{\"name\": \"f\"}]" },
    { "[TOOL_CALLS]", "", "a\1<other>\2b\1[TOOL_CALLS]\2c\1[ARGS]\2{}", "ab", "", "c[ARGS]{}" },
    { "<think>", "", "a\1<think>\2b\1<x>\2c\1</think>\2d", "ad", "bc", "" },
    { "<|python_tag|>", "", "\1<|python_tag|>\2f(1)", "", "", "f(1)" },
    { "'<|channel|>'", "<|start|>assistant",
      "\1<|channel|>\2analysis\1<|message|>\2Hm.\1<|end|>\2\1<|start|>\2assistant"
      "\1<|channel|>\2final\1<|message|>\2Yes.", "Yes.", "Hm.", "" },
    { "'<|channel|>'", "<|start|>assistant",
      "\1<|channel|>\2analysis\1<|message|>\2Hm.\1<|end|>\2\1<|start|>\2assistant"
      "\1<|channel|>\2commentary to=functions.f \1<|constrain|>\2json\1<|message|>\2{\"a\": 1}", "", "Hm.",
      "functions.f {\"a\": 1}" },
    { "'<|channel|>'", "<|start|>assistant", " to=functions.f\1<|channel|>\2commentary json\1<|message|>\2{}", "", "",
      "functions.f{}" },
    { "<|channel|>", "<|start|>assistant", "\1<|channel|>\2final\1<|message|>\2Go to=x", "Go to=x", "", "" },
    { "<|channel|>", "<|start|>assistant", "\1<|channel|>\2commentary\1<|message|>\2I look.\1<|end|>\2\1<|start|>\2"
      "assistant to=functions.f\1<|channel|>\2commentary json\1<|message|>\2{}", "I look.", "", "functions.f{}" },
    { "Action:\\n```json\\n", "", "Plan.\nAction: ```json\n[]\n```\n```c\nx\n```", "Plan.\n```c\nx\n```", "", "[]" },
    { "<|recipient|>", "<|from|>assistant\n<|recipient|>", "all\n\1<|content|>\2Yes.", "Yes.", "", "" },
    { "<|recipient|>", "<|from|>assistant\n<|recipient|>", "all\n\1<|content|>\2Yes.\n\1<|from|>\2assistant\n"
      "\1<|recipient|>\2f\n\1<|content|>\2{}", "Yes.\n", "", "f\n{}" },
    { ">>>all\\n", ">>>", "all\nYes. >>>f\n{}", "Yes. ", "", "f\n{}" },
    { ">>>all\\n", ">>>", "f\n{}", "", "", "f\n{}" },
    { "<|START_THINKING|> <|START_ACTION|> <|START_RESPONSE|>", "\1<|START_THINKING|>\2",
      "Hm.\1<|END_THINKING|>\2\1<|START_RESPONSE|>\2Yes.\1<|END_RESPONSE|>\2", "Yes.", "", "" }
};
/* clang-format on */

static void by_hand(void)
{
    size_t i, step;
    TEST("marks by hand");
    for (i = 0; i < HYB_COUNT(hands); i++)
        for (step = 1; step < 40; step++) {
            const hand *h = &hands[i];
            hyb_pieces p;
            split s;
            char prompt[200];
            size_t n = 0, k;
            for (k = 0; h->prompt[k]; k++)
                if (h->prompt[k] > 2) prompt[n++] = h->prompt[k];
            hyb_pieces_open(&p, h->tmpl, strlen(h->tmpl));
            hyb_pieces_begin(&p, prompt, n);
            split_text(&p, h->text, strlen(h->text), step, &s);
            if (strstr(h->prompt, "\1<|START_T")) { /* the prompt opened it */
                CHECK(!strcmp(s.text[0], "Yes.") && !strcmp(s.text[1], "Hm."), "'%s' '%s'", s.text[0], s.text[1]);
                continue;
            }
            CHECK(!strcmp(s.text[0], h->answer) && !strcmp(s.text[1], h->thought) && !strcmp(s.text[2], h->call),
                  "%lu by %lu: '%s', thought '%s', called '%s'", (unsigned long)i, (unsigned long)step, s.text[0],
                  s.text[1], s.text[2]);
        }
}

/* ---- the templates ---- */

static size_t n_thoughts, n_calls, n_known;

static hybrid_result render(const hybrid_template *t, const char *messages, bool ask, const char *bos, const char *eos,
                            hybrid_text *out)
{
    hybrid_chat_desc d;
    memset(&d, 0, sizeof d);
    d.messages = messages;
    d.add_generation_prompt = ask;
    d.bos_token = bos;
    d.eos_token = eos;
    d.now = 1752148800;
    d.tools =
        "[{\"type\": \"function\", \"function\": {\"name\": \"look\", \"description\": \"Looks.\", \"parameters\": "
        "{\"type\": \"object\", \"properties\": {\"at\": {\"type\": \"string\", \"description\": \"where\"}}, "
        "\"required\": [\"at\"]}}}]";
    return hybrid_chat_render(t, NULL, 0, &d, out, NULL);
}

#define USER   "[{\"role\": \"user\", \"content\": \"What is up?\"}"
#define REASON "\"reasoning_content\": \"Hm, clouds.\", \"thought\": \"Hm, clouds.\""
#define CALLS(arguments) \
    "\"tool_calls\": [{\"type\": \"function\", \"id\": \"abcdefghi\", \"function\": {\"name\": \"look\", " \
    "\"arguments\": " arguments "}}]"

static void one_template(const char *name, const char *text, size_t n, const char *bos, const char *eos)
{
    static const char *const said[] = {
        USER ", {\"role\": \"assistant\", \"content\": \"Let me see.\", " REASON "}]",
        USER ", {\"role\": \"assistant\", \"content\": \"Let me see.\", " CALLS("{\"at\": \"sky\"}") "}]",
        USER ", {\"role\": \"assistant\", \"content\": \"Let me see.\", " CALLS("\"{\\\"at\\\": \\\"sky\\\"}\"") "}]",
        USER ", {\"role\": \"assistant\", \"content\": \"Let me see.\", " REASON ", " CALLS("{\"at\": \"sky\"}") "}]"
    };
    static const char *const ends[] = { "<|im_end|>",
                                        "<|eot_id|>",
                                        "<|eom_id|>",
                                        "<|END_OF_TURN_TOKEN|>",
                                        "<|end|>",
                                        "<|stop|>",
                                        "<|end_of_text|>",
                                        "</s>",
                                        "<|eom|>",
                                        "<\xEF\xBD\x9C"
                                        "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>" };
    hybrid_template_desc td;
    hybrid_template *t;
    hybrid_text prompt, whole;
    hyb_pieces p;
    split s;
    size_t i, k, step;
    memset(&td, 0, sizeof td);
    memset(&prompt, 0, sizeof prompt);
    memset(&whole, 0, sizeof whole);
    td.text = text;
    td.size = n;
    hyb_pieces_open(&p, text, n);
    if (hybrid_template_create(rt, &td, &t, NULL)) return;
    n_known += p.known != 0;
    for (i = 0; i < HYB_COUNT(said) && p.known; i++) {
        char *from, *end, *thought;
        bool thinks, calls, marked;
        if (render(t, USER "]", true, bos, eos, &prompt) || render(t, said[i], false, bos, eos, &whole)) continue;
        if (whole.size < prompt.size || memcmp(whole.data, prompt.data, prompt.size)) {
            /* the turn is opened otherwise when it is asked for, say with <think> */
            if (render(t, USER "]", false, bos, eos, &prompt) || whole.size < prompt.size ||
                memcmp(whole.data, prompt.data, prompt.size))
                continue;
        }
        from = whole.data + prompt.size;
        for (k = 0; k < HYB_COUNT(ends); k++)
            if ((end = strstr(from, ends[k])) != NULL) *end = 0;
        if (*eos && (end = strstr(from, eos)) != NULL) *end = 0;
        thinks = strstr(from, "Hm, clouds.") != NULL;
        calls = strstr(from, "sky") != NULL;
        marked = !calls || !strstr(name, "Llama-3.1"); /* there JSON is a call, without a mark */
        if (!strstr(from, "Let me see.") && !thinks && !calls) continue;
        for (step = 1; step < 9; step += 3) {
            hyb_pieces_begin(&p, prompt.data, prompt.size);
            split_text(&p, from, strlen(from), step, &s);
            for (k = 0; k < 3; k++) trimmed(s.text[k]);
            if (getenv("SHOW") && step == 1)
                printf("== %s %d: %s\n   -> [%s] [%s] [%s]\n", name, (int)i, from, s.text[0], s.text[1], s.text[2]);
            CHECK(!strcmp(s.text[1], thinks ? "Hm, clouds." : ""), "%s %d: thought '%s' of '%s'", name, (int)i,
                  s.text[1], from);
            CHECK(!strcmp(s.text[0], strstr(from, "Let me see.") ? "Let me see." : "") || !marked, "%s %d: said '%s'",
                  name, (int)i, s.text[0]);
            CHECK(calls && marked ? strstr(s.text[2], "sky") && !strstr(s.text[2], "Let me") && !strstr(s.text[2], "Hm")
                                  : !*s.text[2],
                  "%s %d: called '%s' of '%s'", name, (int)i, s.text[2], from);
            if (!(thought = strstr(s.kept, "Hm, clouds.")) && !thinks && !strstr(from, "hink") && !strstr(from, "HINK"))
                CHECK(!strcmp(s.kept, from), "%s %d: kept '%s' of '%s'", name, (int)i, s.kept, from);
            CHECK(!thought && !strstr(s.kept, "hink"), "%s %d: kept '%s'", name, (int)i, s.kept);
            n_thoughts += thinks && *s.text[1];
            n_calls += calls && *s.text[2];
        }
    }
    hybrid_text_free(&prompt);
    hybrid_text_free(&whole);
    hybrid_template_destroy(t);
}

static const char *str(const hyb_json *object, const char *key)
{
    const hyb_json *v = hyb_json_get(object, key);
    return v && v->type == HYB_JSON_STRING ? v->u.s : "";
}

static void templates_of(const char *path, const char *list, const char *member)
{
    hyb_json_doc doc;
    const hyb_json *all, *c;
    char *text;
    size_t n;
    uint32_t i;
    if (!path || !(text = read_file(path, &n))) {
        SKIP("no templates (set HYBRID_DATA)");
        return;
    }
    memset(&doc, 0, sizeof doc);
    CHECK(!hyb_json_parse(rt, text, n, 100, 1000000, &doc, NULL), "%s", path);
    all = hyb_json_get(doc.root, list);
    for (i = 0, c = hyb_json_first(all); i < all->n; i++) {
        const bool object = all->type == HYB_JSON_OBJECT;
        const hyb_json *item = object ? c + 1 : c, *tmpl = member ? hyb_json_get(item, member) : item;
        one_template(object ? c->u.s : str(item, "name"), tmpl->u.s, tmpl->n, "<s>", "</s>");
        c = object ? hyb_json_next_member(c) : hyb_json_next(c);
    }
    hyb_json_free(&doc);
    free(text);
}

/* ---- a conversation: a model that is made to say it ---- */

static void talks(hybrid_model *m, const char *says, const char *begin, bool whole, const char *answer,
                  const char *thought, const char *call, const char *message)
{
    hybrid_logit_bias bias = { 0, INFINITY };
    hybrid_session_desc d;
    hybrid_answer_desc how;
    hybrid_session *s;
    hybrid_piece piece;
    hybrid_error err;
    split got;
    int32_t ids[300];
    size_t n, k, pieces = 0;
    memset(&d, 0, sizeof d);
    memset(&how, 0, sizeof how);
    memset(&got, 0, sizeof got);
    memset(&piece, 0, sizeof piece);
    how.begin = begin;
    d.whole = whole;
    d.sampler.bias = &bias;
    d.sampler.n_bias = 1;
    CHECK(!hybrid_tokenize(hybrid_model_tokenizer(m), says, strlen(says), 0, ids, 299, &n, &err), "%s", err.message);
    ids[n++] = 2;
    CHECK(!hybrid_session_create(m, &d, &s, &err), "%s", err.message);
    CHECK(!hybrid_session_answer(s, "Hi", &how), "say");
    while (!piece.stop && pieces < 100000) {
        k = (size_t)s->stream->info.n_generated + (s->stream->chosen >= 0);
        s->stream->own->bias[0].id = ids[HYB_MIN(k, n - 1)];
        CHECK(!hybrid_session_step(s, 0, &piece), "step");
        CHECK(strlen(piece.text) == piece.size, "a zero");
        strcat(got.text[piece.kind], piece.text);
        pieces++;
    }
    CHECK(piece.stop == HYBRID_STOP_END && s->stream->info.n_generated + 1 == (int32_t)n, "%d, %d of %d", piece.stop,
          s->stream->info.n_generated, (int)n);
    CHECK(!strcmp(got.text[0], answer) && !strcmp(got.text[1], thought) && !strcmp(got.text[2], call),
          "%s: '%s' '%s' '%s'", says, got.text[0], got.text[1], got.text[2]);
    CHECK(!strcmp(hybrid_session_message(s, 1).content, message), "'%s'", hybrid_session_message(s, 1).content);
    CHECK(!hybrid_session_next(s), "nothing more");
    hybrid_session_destroy(s);
}

static void conversations(void)
{
    static const char text[] =
        "{# <think> <tool_call> #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "assistant: {{ open }}";
    static const char says[] = "<think>\nHm \xC3\xA4.\n</think>\n\nYes \xC3\xB6.\n<tool_call>\n{}\n</tool_call>";
    hybrid_template_desc td;
    hybrid_template *t = NULL, *before;
    hybrid_model_desc md;
    hybrid_model *m;
    hybrid_error err;
    TEST("conversations");
    memset(&td, 0, sizeof td);
    memset(&md, 0, sizeof md);
    md.source.path = "examples/data/stories260K-q8_0.gguf";
    td.text = text;
    if (hybrid_model_load(rt, &md, &m, &err)) {
        CHECK(false, "%s", err.message);
        return;
    }
    CHECK(!hybrid_template_create(rt, &td, &t, &err), "%s", err.message);
    before = m->chat;
    m->chat = t;
    talks(m, says, NULL, false, "Yes \xC3\xB6.\n", "Hm \xC3\xA4.", "{}",
          " Yes \xC3\xB6.\n<tool_call>\n{}\n</tool_call>");
    talks(m, "Yes.<think>a\xC3</think>b", NULL, false, " Yes.b", "a\xEF\xBF\xBD", "", " Yes.b");
    talks(m, "Hm.</think>Yes. <thi", "<think>\n", false, "Yes. <thi", "Hm.", "", "<think>\nYes. <thi");
    talks(m, "m.</think>Yes.", "<think>\nH", false, "Yes.", " m.", "", "<think>\nHYes.");
    talks(m, "a<think>b", NULL, true, " a<think>b", "", "", " a<think>b");
    m->chat = before;
    hybrid_template_destroy(t);
    hybrid_model_destroy(m);
}

int main(void)
{
    hybrid_error err;
    if (hybrid_runtime_create(NULL, &rt, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    by_hand();
    TEST("assistants' messages of the templates");
    templates_of("tests/oracle/data/jinja.json", "templates", NULL);
    templates_of(data_path("jinja/hf-chat-template-e2e.json"), "cases", "chat_template");
    templates_of(data_path("jinja/llamacpp-chat-templates.json"), "cases", "template");
    CHECK(!data_path("jinja/hf-chat-template-e2e.json") || (n_known >= 20 && n_thoughts >= 40 && n_calls >= 130),
          "%lu %lu %lu", (unsigned long)n_known, (unsigned long)n_thoughts, (unsigned long)n_calls);
    printf("%lu templates know marks, %lu thoughts and %lu calls came apart\n", (unsigned long)n_known,
           (unsigned long)n_thoughts, (unsigned long)n_calls);
    conversations();
    hybrid_runtime_destroy(rt);
    return test_end();
}
