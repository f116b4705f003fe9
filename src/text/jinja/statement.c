/* text/jinja/statement: {% ... %}: statements, and the parser of a whole template. */
#ifndef HYB_TEXT_JINJA_STATEMENT_C
#define HYB_TEXT_JINJA_STATEMENT_C
#include "parse.c"

static bool hyb_jparse_body(hyb_jparser *p, const char *ends, hyb_jnode **list);

/* A body up to its end word, which is taken. The "%}" before the body is taken first. */
static bool hyb_jparse_enclosed(hyb_jparser *p, const char *end, hyb_jnode **list)
{
    if (p->now.type != HYB_J_BLOCK_END) {
        hyb_jparse_unexpected(p, "%}");
        return false;
    }
    hyb_jparse_advance(p);
    if (!hyb_jparse_body(p, end, list)) return false;
    hyb_jparse_advance(p);
    return !p->result;
}

/* What can be assigned to: a name, a member of a namespace, a tuple of such. Names of constants are none. */
static hyb_jnode *hyb_jparse_target(hyb_jparser *p, const char *stop, bool members)
{
    hyb_jnode *n = hyb_jparse_tuple(p, HYB_J_TARGET, stop, false), *part;
    bool ok = n && (n->kind == HYB_J_VARIABLE || (n->kind == HYB_J_ATTRIBUTE && members));
    if (n && n->kind == HYB_J_TUPLE_OF && n->a)
        for (part = n->a, ok = true; part; part = part->next)
            if (part->a->kind != HYB_J_VARIABLE && part->a->kind != HYB_J_TUPLE_OF &&
                (part->a->kind != HYB_J_ATTRIBUTE || !members))
                ok = false;
    if (n && !ok) {
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, n->at, "this cannot be assigned to");
        return NULL;
    }
    return n;
}

static bool hyb_jparse_if(hyb_jparser *p, hyb_jnode *n)
{
    for (;;) {
        if (!(n->a = hyb_jparse_tuple(p, HYB_J_NO_CHOICE, "", false))) return false;
        if (p->now.type != HYB_J_BLOCK_END) {
            hyb_jparse_unexpected(p, "%}");
            return false;
        }
        hyb_jparse_advance(p);
        if (!hyb_jparse_body(p, "elif else endif", &n->b)) return false;
        if (hyb_jparse_skip_word(p, "endif")) return !p->result;
        if (hyb_jparse_skip_word(p, "else")) {
            n->flag = true; /* c is a body, not another IF */
            return hyb_jparse_enclosed(p, "endif", &n->c);
        }
        hyb_jparse_advance(p);
        if (!(n->c = hyb_jparse_node(p, HYB_J_IF))) return false;
        n = n->c;
    }
}

static bool hyb_jparse_for(hyb_jparser *p, hyb_jnode *n)
{
    bool ok;
    if (!(n->a = hyb_jparse_target(p, "in", false))) return false;
    if (!hyb_jparse_skip_word(p, "in")) {
        hyb_jparse_unexpected(p, "'in'");
        return false;
    }
    if (!(n->b = hyb_jparse_tuple(p, HYB_J_NO_CHOICE, "recursive", false)) || !(n->d = hyb_jparse_node(p, HYB_J_PART)))
        return false;
    if (hyb_jparse_skip_word(p, "if") && !(n->d->a = hyb_jparse_expression(p))) return false;
    n->flag = hyb_jparse_skip_word(p, "recursive");
    if (p->now.type != HYB_J_BLOCK_END) {
        hyb_jparse_unexpected(p, "%}");
        return false;
    }
    hyb_jparse_advance(p);
    p->loops++;
    ok = hyb_jparse_body(p, "endfor else", &n->c);
    p->loops--;
    if (!ok) return false;
    if (hyb_jparse_skip_word(p, "endfor")) return !p->result;
    hyb_jparse_advance(p);
    return hyb_jparse_enclosed(p, "endfor", &n->d->b);
}

static bool hyb_jparse_filters(hyb_jparser *p, hyb_jnode **filters)
{
    do {
        if (!(*filters = hyb_jparse_filter(p, *filters))) return false;
    } while (hyb_jparse_skip_op(p, '|'));
    return true;
}

static bool hyb_jparse_set(hyb_jparser *p, hyb_jnode *n)
{
    if (!(n->a = hyb_jparse_target(p, "", true))) return false;
    if (hyb_jparse_skip_op(p, '=')) return (n->b = hyb_jparse_tuple(p, HYB_J_FULL, "", false)) != NULL;
    n->kind = HYB_J_SET_BLOCK;
    if (hyb_jparse_skip_op(p, '|') && !hyb_jparse_filters(p, &n->b)) return false;
    return hyb_jparse_enclosed(p, "endset", &n->c);
}

/* (a, b=1): KEYWORDs */
static bool hyb_jparse_parameters(hyb_jparser *p, hyb_jnode **list)
{
    hyb_jnode *one, **tail = list;
    bool defaults = false;
    hyb_jparse_want_op(p, '(', "'('");
    while (!p->result && !hyb_jparse_is_op(p, ')')) {
        if (!(one = hyb_jparse_node(p, HYB_J_KEYWORD)) || !(one->name = hyb_jparse_name(p))) return false;
        if (hyb_jparse_skip_op(p, '=')) {
            if (!(one->a = hyb_jparse_expression(p))) return false;
            defaults = true;
        } else if (defaults) {
            hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, one->at,
                            "a parameter without a default follows one with a default");
            return false;
        }
        *tail = one;
        tail = &one->next;
        if (!hyb_jparse_skip_op(p, ',')) break;
    }
    hyb_jparse_want_op(p, ')', "',' or ')'");
    return !p->result;
}

static bool hyb_jparse_with(hyb_jparser *p, hyb_jnode *n)
{
    hyb_jnode *set, **tail = &n->b;
    while (p->now.type == HYB_J_NAME) {
        if (!(set = hyb_jparse_node(p, HYB_J_SET)) || !(set->a = hyb_jparse_primary(p, true))) return false;
        if (set->a->kind != HYB_J_VARIABLE) {
            hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, set->at, "this cannot be assigned to");
            return false;
        }
        hyb_jparse_want_op(p, '=', "'='");
        if (!(set->b = hyb_jparse_expression(p))) return false;
        *tail = set;
        tail = &set->next;
        if (!hyb_jparse_skip_op(p, ',')) break;
    }
    return hyb_jparse_enclosed(p, "endwith", &n->c);
}

/* A loop's body cannot be left from inside of a macro or a captured block. */
static bool hyb_jparse_captured(hyb_jparser *p, const char *end, hyb_jnode **list)
{
    int loops = p->loops;
    bool ok;
    p->loops = 0;
    ok = hyb_jparse_enclosed(p, end, list);
    p->loops = loops;
    return ok;
}

/* print a, b: one after the other */
static bool hyb_jparse_print(hyb_jparser *p, hyb_jnode *n)
{
    hyb_jnode *part, **tail = &n->b;
    n->kind = HYB_J_BLOCK; /* of nothing */
    if (p->now.type == HYB_J_BLOCK_END) return true;
    n->kind = HYB_J_OUTPUT;
    if (!(n->a = hyb_jparse_expression(p))) return false;
    while (p->now.type != HYB_J_BLOCK_END) {
        hyb_jparse_want_op(p, ',', "',' or '%}'");
        if (!(part = hyb_jparse_node(p, HYB_J_PART)) || !(part->a = hyb_jparse_expression(p))) return false;
        *tail = part;
        tail = &part->next;
    }
    return !p->result;
}

/* The statement whose word is at hand, up to its last "%}" (not taken). */
static bool hyb_jparse_statement(hyb_jparser *p, hyb_jnode *n)
{
    static const char words[] = "if for set macro call filter with generation print break continue autoescape do "
                                "include import from extends block trans";
    int which = p->now.type == HYB_J_NAME ? hyb_jword(words, p->now.p, p->now.n) : -1;
    if (which < 0) {
        if (p->now.type == HYB_J_NAME)
            hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "there is no tag '%.*s' here",
                            (int)HYB_MIN(p->now.n, (size_t)60), p->now.p);
        else
            hyb_jparse_unexpected(p, "the name of a tag");
        return false;
    }
    if (which >= 11) {
        hyb_jparse_fail(p, HYBRID_ERROR_UNSUPPORTED, p->now.at,
                        "the tag '%.*s' is not supported: chat templates have none", (int)p->now.n, p->now.p);
        return false;
    }
    hyb_jparse_advance(p);
    switch (which) {
    case 0: n->kind = HYB_J_IF; return hyb_jparse_if(p, n);
    case 1: n->kind = HYB_J_FOR; return hyb_jparse_for(p, n);
    case 2: n->kind = HYB_J_SET; return hyb_jparse_set(p, n);
    case 3:
        n->kind = HYB_J_MACRO;
        return (n->name = hyb_jparse_name(p)) != NULL && hyb_jparse_parameters(p, &n->b) &&
               hyb_jparse_captured(p, "endmacro", &n->c);
    case 4:
        n->kind = HYB_J_CALL_BLOCK;
        if (hyb_jparse_is_op(p, '(') && !hyb_jparse_parameters(p, &n->b)) return false;
        if (!(n->a = hyb_jparse_expression(p))) return false;
        if (n->a->kind != HYB_J_CALL) {
            hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, n->a->at, "{%% call %%} needs a call of a macro");
            return false;
        }
        return hyb_jparse_captured(p, "endcall", &n->c);
    case 5:
        n->kind = HYB_J_FILTER_BLOCK;
        return hyb_jparse_filters(p, &n->b) && hyb_jparse_captured(p, "endfilter", &n->c);
    case 6: n->kind = HYB_J_WITH; return hyb_jparse_with(p, n);
    case 7: n->kind = HYB_J_BLOCK; return hyb_jparse_captured(p, "endgeneration", &n->c);
    case 8: return hyb_jparse_print(p, n);
    default:
        n->kind = which == 9 ? HYB_J_BREAK : HYB_J_CONTINUE;
        if (p->loops) return true;
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, n->at, "this stands outside of a loop");
        return false;
    }
}

/* Text and tags up to a tag whose word is one of ends; the word is at hand then. ends NULL: up to the end of the
 * template. */
static bool hyb_jparse_body(hyb_jparser *p, const char *ends, hyb_jnode **list)
{
    hyb_jnode *n, **tail = list;
    uint32_t start = p->now.at;
    if (!hyb_jparse_enter(p)) return false;
    while (!p->result && p->now.type != HYB_J_END) {
        if (p->now.type == HYB_J_BLOCK_BEGIN) {
            hyb_jparse_advance(p);
            if (ends && hyb_jparse_is_word(p, ends)) {
                p->depth++;
                return true;
            }
            if (!(n = hyb_jparse_node(p, HYB_J_OUTPUT)) || !hyb_jparse_statement(p, n)) return false;
            if (p->now.type != HYB_J_BLOCK_END)
                hyb_jparse_unexpected(p, "%}");
            else
                hyb_jparse_advance(p);
        } else if (p->now.type == HYB_J_PRINT_BEGIN) {
            if (!(n = hyb_jparse_node(p, HYB_J_OUTPUT))) return false;
            hyb_jparse_advance(p);
            if (!(n->a = hyb_jparse_tuple(p, HYB_J_FULL, "", false))) return false;
            if (p->now.type != HYB_J_PRINT_END)
                hyb_jparse_unexpected(p, "}}");
            else
                hyb_jparse_advance(p);
        } else {
            if (!(n = hyb_jparse_node(p, HYB_J_OUTPUT_TEXT))) return false;
            if (!hyb_jstring_view(p->arena, p->now.p, p->now.n, &n->value)) {
                hyb_jparse_spent(p);
                return false;
            }
            hyb_jparse_advance(p);
        }
        *tail = n;
        tail = &n->next;
    }
    p->depth++;
    if (ends)
        hyb_jparse_fail(p, HYBRID_ERROR_FORMAT, start, "the template ends before the tag that closes this: %s", ends);
    return !p->result;
}

/* A parsed template; the names are NULL where the template never says them. */
struct hyb_jtree {
    hyb_jnode *body;
    hyb_jstring *loop, *caller, *varargs, *kwargs;
};

static hyb_jstring *hyb_jparse_mentioned(hyb_jparser *p, const char *name)
{
    const hyb_jvalue *v = hyb_jdict_get(p->arena, p->names, name);
    return v ? v->u.s : NULL;
}

/* A whole template. source lives as long as the arena. */
static hybrid_result hyb_jparse(hyb_jarena *arena, const char *source, size_t n, bool trim, bool lstrip,
                                hyb_jtree *tree, hybrid_error *error)
{
    enum { DEPTH = 400 };
    hyb_jparser p;
    hyb_jvalue names;
    memset(&p, 0, sizeof p);
    p.arena = arena;
    p.lex.source = p.lex.p = source;
    p.lex.end = source + n;
    p.lex.trim = trim;
    p.lex.lstrip = lstrip;
    p.error = error;
    p.depth = DEPTH;
    if (!hyb_jdict_new(arena, &names)) {
        hyb_jparse_spent(&p);
        return p.result;
    }
    p.names = names.u.dict;
    hyb_jparse_advance(&p);
    hyb_jparse_advance(&p);
    hyb_jparse_body(&p, NULL, &tree->body);
    tree->loop = hyb_jparse_mentioned(&p, "loop");
    tree->caller = hyb_jparse_mentioned(&p, "caller");
    tree->varargs = hyb_jparse_mentioned(&p, "varargs");
    tree->kwargs = hyb_jparse_mentioned(&p, "kwargs");
    return p.result;
}
#endif
