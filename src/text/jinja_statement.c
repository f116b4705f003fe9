/* text/jinja_statement: {% ... %}: statements, and the parser of a whole template. */

static bool hybrid__jparse_body(hybrid__jparser *p, const char *ends, hybrid__jnode **list);

/* A body up to its end word, which is taken. The "%}" before the body is taken first. */
static bool hybrid__jparse_enclosed(hybrid__jparser *p, const char *end, hybrid__jnode **list)
{
    if (p->now.type != HYBRID__J_BLOCK_END) { hybrid__jparse_unexpected(p, "%}"); return false; }
    hybrid__jparse_advance(p);
    if (!hybrid__jparse_body(p, end, list)) return false;
    hybrid__jparse_advance(p);
    return !p->result;
}

/* What can be assigned to: a name, a member of a namespace, a tuple of such. Names of constants are none. */
static hybrid__jnode *hybrid__jparse_target(hybrid__jparser *p, const char *stop, bool members)
{
    hybrid__jnode *n = hybrid__jparse_tuple(p, HYBRID__J_TARGET, stop, false), *part;
    bool ok = n && (n->kind == HYBRID__J_VARIABLE || (n->kind == HYBRID__J_ATTRIBUTE && members));
    if (n && n->kind == HYBRID__J_TUPLE_OF && n->a)
        for (part = n->a, ok = true; part; part = part->next)
            if (part->a->kind != HYBRID__J_VARIABLE && part->a->kind != HYBRID__J_TUPLE_OF && (part->a->kind != HYBRID__J_ATTRIBUTE || !members)) ok = false;
    if (n && !ok) { hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, n->at, "this cannot be assigned to"); return NULL; }
    return n;
}

static bool hybrid__jparse_if(hybrid__jparser *p, hybrid__jnode *n)
{
    for (;;) {
        if (!(n->a = hybrid__jparse_tuple(p, HYBRID__J_NO_CHOICE, "", false))) return false;
        if (p->now.type != HYBRID__J_BLOCK_END) { hybrid__jparse_unexpected(p, "%}"); return false; }
        hybrid__jparse_advance(p);
        if (!hybrid__jparse_body(p, "elif else endif", &n->b)) return false;
        if (hybrid__jparse_skip_word(p, "endif")) return !p->result;
        if (hybrid__jparse_skip_word(p, "else")) {
            n->flag = true;                                  /* c is a body, not another IF */
            return hybrid__jparse_enclosed(p, "endif", &n->c);
        }
        hybrid__jparse_advance(p);
        if (!(n->c = hybrid__jparse_node(p, HYBRID__J_IF))) return false;
        n = n->c;
    }
}

static bool hybrid__jparse_for(hybrid__jparser *p, hybrid__jnode *n)
{
    bool ok;
    if (!(n->a = hybrid__jparse_target(p, "in", false))) return false;
    if (!hybrid__jparse_skip_word(p, "in")) { hybrid__jparse_unexpected(p, "'in'"); return false; }
    if (!(n->b = hybrid__jparse_tuple(p, HYBRID__J_NO_CHOICE, "recursive", false)) || !(n->d = hybrid__jparse_node(p, HYBRID__J_PART))) return false;
    if (hybrid__jparse_skip_word(p, "if") && !(n->d->a = hybrid__jparse_expression(p))) return false;
    n->flag = hybrid__jparse_skip_word(p, "recursive");
    if (p->now.type != HYBRID__J_BLOCK_END) { hybrid__jparse_unexpected(p, "%}"); return false; }
    hybrid__jparse_advance(p);
    p->loops++;
    ok = hybrid__jparse_body(p, "endfor else", &n->c);
    p->loops--;
    if (!ok) return false;
    if (hybrid__jparse_skip_word(p, "endfor")) return !p->result;
    hybrid__jparse_advance(p);
    return hybrid__jparse_enclosed(p, "endfor", &n->d->b);
}

static bool hybrid__jparse_filters(hybrid__jparser *p, hybrid__jnode **filters)
{
    do {
        if (!(*filters = hybrid__jparse_filter(p, *filters))) return false;
    } while (hybrid__jparse_skip_op(p, '|'));
    return true;
}

static bool hybrid__jparse_set(hybrid__jparser *p, hybrid__jnode *n)
{
    if (!(n->a = hybrid__jparse_target(p, "", true))) return false;
    if (hybrid__jparse_skip_op(p, '=')) return (n->b = hybrid__jparse_tuple(p, HYBRID__J_FULL, "", false)) != NULL;
    n->kind = HYBRID__J_SET_BLOCK;
    if (hybrid__jparse_skip_op(p, '|') && !hybrid__jparse_filters(p, &n->b)) return false;
    return hybrid__jparse_enclosed(p, "endset", &n->c);
}

/* (a, b=1): KEYWORDs */
static bool hybrid__jparse_parameters(hybrid__jparser *p, hybrid__jnode **list)
{
    hybrid__jnode *one, **tail = list;
    bool defaults = false;
    hybrid__jparse_want_op(p, '(', "'('");
    while (!p->result && !hybrid__jparse_is_op(p, ')')) {
        if (!(one = hybrid__jparse_node(p, HYBRID__J_KEYWORD)) || !(one->name = hybrid__jparse_name(p))) return false;
        if (hybrid__jparse_skip_op(p, '=')) {
            if (!(one->a = hybrid__jparse_expression(p))) return false;
            defaults = true;
        } else if (defaults) {
            hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, one->at, "a parameter without a default follows one with a default");
            return false;
        }
        *tail = one;
        tail = &one->next;
        if (!hybrid__jparse_skip_op(p, ',')) break;
    }
    hybrid__jparse_want_op(p, ')', "',' or ')'");
    return !p->result;
}

static bool hybrid__jparse_with(hybrid__jparser *p, hybrid__jnode *n)
{
    hybrid__jnode *set, **tail = &n->b;
    while (p->now.type == HYBRID__J_NAME) {
        if (!(set = hybrid__jparse_node(p, HYBRID__J_SET)) || !(set->a = hybrid__jparse_primary(p, true))) return false;
        if (set->a->kind != HYBRID__J_VARIABLE) { hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, set->at, "this cannot be assigned to"); return false; }
        hybrid__jparse_want_op(p, '=', "'='");
        if (!(set->b = hybrid__jparse_expression(p))) return false;
        *tail = set;
        tail = &set->next;
        if (!hybrid__jparse_skip_op(p, ',')) break;
    }
    return hybrid__jparse_enclosed(p, "endwith", &n->c);
}

/* A loop's body cannot be left from inside of a macro or a captured block. */
static bool hybrid__jparse_captured(hybrid__jparser *p, const char *end, hybrid__jnode **list)
{
    int loops = p->loops;
    bool ok;
    p->loops = 0;
    ok = hybrid__jparse_enclosed(p, end, list);
    p->loops = loops;
    return ok;
}

/* print a, b: one after the other */
static bool hybrid__jparse_print(hybrid__jparser *p, hybrid__jnode *n)
{
    hybrid__jnode *part, **tail = &n->b;
    n->kind = HYBRID__J_BLOCK;                               /* of nothing */
    if (p->now.type == HYBRID__J_BLOCK_END) return true;
    n->kind = HYBRID__J_OUTPUT;
    if (!(n->a = hybrid__jparse_expression(p))) return false;
    while (p->now.type != HYBRID__J_BLOCK_END) {
        hybrid__jparse_want_op(p, ',', "',' or '%}'");
        if (!(part = hybrid__jparse_node(p, HYBRID__J_PART)) || !(part->a = hybrid__jparse_expression(p))) return false;
        *tail = part;
        tail = &part->next;
    }
    return !p->result;
}

/* The statement whose word is at hand, up to its last "%}" (not taken). */
static bool hybrid__jparse_statement(hybrid__jparser *p, hybrid__jnode *n)
{
    static const char words[] = "if for set macro call filter with generation print break continue autoescape do include import from extends block trans";
    int which = p->now.type == HYBRID__J_NAME ? hybrid__jword(words, p->now.p, p->now.n) : -1;
    if (which < 0) {
        if (p->now.type == HYBRID__J_NAME) hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, p->now.at, "there is no tag '%.*s' here", (int)HYBRID__MIN(p->now.n, (size_t)60), p->now.p);
        else hybrid__jparse_unexpected(p, "the name of a tag");
        return false;
    }
    if (which >= 11) {
        hybrid__jparse_fail(p, HYBRID_ERROR_UNSUPPORTED, p->now.at, "the tag '%.*s' is not supported: chat templates have none", (int)p->now.n, p->now.p);
        return false;
    }
    hybrid__jparse_advance(p);
    switch (which) {
    case 0: n->kind = HYBRID__J_IF; return hybrid__jparse_if(p, n);
    case 1: n->kind = HYBRID__J_FOR; return hybrid__jparse_for(p, n);
    case 2: n->kind = HYBRID__J_SET; return hybrid__jparse_set(p, n);
    case 3:
        n->kind = HYBRID__J_MACRO;
        return (n->name = hybrid__jparse_name(p)) != NULL && hybrid__jparse_parameters(p, &n->b) && hybrid__jparse_captured(p, "endmacro", &n->c);
    case 4:
        n->kind = HYBRID__J_CALL_BLOCK;
        if (hybrid__jparse_is_op(p, '(') && !hybrid__jparse_parameters(p, &n->b)) return false;
        if (!(n->a = hybrid__jparse_expression(p))) return false;
        if (n->a->kind != HYBRID__J_CALL) { hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, n->a->at, "{%% call %%} needs a call of a macro"); return false; }
        return hybrid__jparse_captured(p, "endcall", &n->c);
    case 5: n->kind = HYBRID__J_FILTER_BLOCK; return hybrid__jparse_filters(p, &n->b) && hybrid__jparse_captured(p, "endfilter", &n->c);
    case 6: n->kind = HYBRID__J_WITH; return hybrid__jparse_with(p, n);
    case 7: n->kind = HYBRID__J_BLOCK; return hybrid__jparse_captured(p, "endgeneration", &n->c);
    case 8: return hybrid__jparse_print(p, n);
    default:
        n->kind = which == 9 ? HYBRID__J_BREAK : HYBRID__J_CONTINUE;
        if (p->loops) return true;
        hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, n->at, "this stands outside of a loop");
        return false;
    }
}

/* Text and tags up to a tag whose word is one of ends; the word is at hand then. ends NULL: up to the end of the template. */
static bool hybrid__jparse_body(hybrid__jparser *p, const char *ends, hybrid__jnode **list)
{
    hybrid__jnode *n, **tail = list;
    uint32_t start = p->now.at;
    if (!hybrid__jparse_enter(p)) return false;
    while (!p->result && p->now.type != HYBRID__J_END) {
        if (p->now.type == HYBRID__J_BLOCK_BEGIN) {
            hybrid__jparse_advance(p);
            if (ends && hybrid__jparse_is_word(p, ends)) { p->depth++; return true; }
            if (!(n = hybrid__jparse_node(p, HYBRID__J_OUTPUT)) || !hybrid__jparse_statement(p, n)) return false;
            if (p->now.type != HYBRID__J_BLOCK_END) hybrid__jparse_unexpected(p, "%}");
            else hybrid__jparse_advance(p);
        } else if (p->now.type == HYBRID__J_PRINT_BEGIN) {
            if (!(n = hybrid__jparse_node(p, HYBRID__J_OUTPUT))) return false;
            hybrid__jparse_advance(p);
            if (!(n->a = hybrid__jparse_tuple(p, HYBRID__J_FULL, "", false))) return false;
            if (p->now.type != HYBRID__J_PRINT_END) hybrid__jparse_unexpected(p, "}}");
            else hybrid__jparse_advance(p);
        } else {
            if (!(n = hybrid__jparse_node(p, HYBRID__J_OUTPUT_TEXT))) return false;
            if (!hybrid__jstring_view(p->arena, p->now.p, p->now.n, &n->value)) { hybrid__jparse_spent(p); return false; }
            hybrid__jparse_advance(p);
        }
        *tail = n;
        tail = &n->next;
    }
    p->depth++;
    if (ends) hybrid__jparse_fail(p, HYBRID_ERROR_FORMAT, start, "the template ends before the tag that closes this: %s", ends);
    return !p->result;
}

/* A parsed template; the names are NULL where the template never says them. */
struct hybrid__jtree {
    hybrid__jnode   *body;
    hybrid__jstring *loop, *caller, *varargs, *kwargs;
};

static hybrid__jstring *hybrid__jparse_mentioned(hybrid__jparser *p, const char *name)
{
    const hybrid__jvalue *v = hybrid__jdict_get(p->arena, p->names, name);
    return v ? v->u.s : NULL;
}

/* A whole template. source lives as long as the arena. */
static hybrid_result hybrid__jparse(hybrid__jarena *arena, const char *source, size_t n, bool trim, bool lstrip, hybrid__jtree *tree, hybrid_error *error)
{
    enum { DEPTH = 400 };
    hybrid__jparser p;
    hybrid__jvalue names;
    memset(&p, 0, sizeof p);
    p.arena = arena;
    p.lex.source = p.lex.p = source;
    p.lex.end = source + n;
    p.lex.trim = trim;
    p.lex.lstrip = lstrip;
    p.error = error;
    p.depth = DEPTH;
    if (!hybrid__jdict_new(arena, &names)) { hybrid__jparse_spent(&p); return p.result; }
    p.names = names.u.dict;
    hybrid__jparse_advance(&p);
    hybrid__jparse_advance(&p);
    hybrid__jparse_body(&p, NULL, &tree->body);
    tree->loop = hybrid__jparse_mentioned(&p, "loop");
    tree->caller = hybrid__jparse_mentioned(&p, "caller");
    tree->varargs = hybrid__jparse_mentioned(&p, "varargs");
    tree->kwargs = hybrid__jparse_mentioned(&p, "kwargs");
    return p.result;
}
