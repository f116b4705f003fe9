#!/usr/bin/env python3
"""make_grammar: random small grammars in GBNF, and which of all short texts over two letters are texts of them.

    python3 tests/oracle/make_grammar.py        writes tests/oracle/data/grammar.json (python3 alone, no packages)

The recognizer is the definition, written down: the ends that a text of an expression can have when it begins at i, by
recursion over expressions and rules, with a table of what is known. A rule that is asked for at a place where it is
being
asked for already begins with itself: such grammars are to be refused."""
import itertools
import json
import os
import random
import re

LETTERS, LONGEST, GRAMMARS = "ab", 6, 400
TEXTS = ["".join(t) for n in range(LONGEST + 1) for t in itertools.product(LETTERS, repeat=n)]


def draw(rng, names, depth):
    kind = rng.choice(["text", "text", "class", "rule", "rule", "seq", "seq", "alt", "repeat"] if depth else
                      ["text", "rule"])
    if kind == "text":
        return ("text", "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, 2))))
    if kind == "class":
        return ("class", rng.choice(["[ab]", "[a]", "[^a]", ".", "[b-z]", "[a-b]"]))
    if kind == "rule":
        return ("rule", rng.choice(names))
    if kind == "repeat":
        least = rng.randint(0, 2)
        return ("repeat", draw(rng, names, depth - 1), least, rng.choice([None, least, least + rng.randint(0, 2)]))
    return (kind, [draw(rng, names, depth - 1) for _ in range(rng.randint(1, 3))])


def show(e, inner=False):
    kind = e[0]
    if kind == "text":
        return '"%s"' % e[1]
    if kind in ("class", "rule"):
        return e[1]
    if kind == "repeat":
        sign = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(e[2:])
        sign = sign or ("{%d}" % e[2] if e[2] == e[3] else "{%d,%s}" % (e[2], "" if e[3] is None else e[3]))
        return "(" + show(e[1]) + ")" + sign
    body = (" " if kind == "seq" else " | ").join(show(x, True) for x in e[1])
    return "(" + body + ")" if inner else body


class LeftRecursion(Exception):
    pass


def ends(rules, e, text, i, known, asked):
    kind = e[0]
    if kind == "text":
        return {i + len(e[1])} if text.startswith(e[1], i) else set()
    if kind == "class":
        return {i + 1} if i < len(text) and re.fullmatch(e[1], text[i]) else set()
    if kind == "rule":
        if (e[1], i) in asked:
            raise LeftRecursion
        if (e[1], i) not in known:
            known[e[1], i] = ends(rules, rules[e[1]], text, i, known, asked | {(e[1], i)})
        return known[e[1], i]
    if kind == "alt":
        return set().union(*[ends(rules, x, text, i, known, asked) for x in e[1]])
    if kind == "seq":
        at = {i}
        for x in e[1]:
            at = set().union(*[ends(rules, x, text, j, known, asked) for j in at]) if at else at
        return at
    least, most = e[2], e[3]
    at, found, n = {i}, set(), 0
    while at and n <= least + len(text) + 1 and (most is None or n <= most):
        if n >= least:
            found |= at
        if n == most:
            break
        at = set().union(*[ends(rules, e[1], text, j, known, asked) for j in at])
        n += 1
    return found


def left_recursive(rules):
    """By the definition, without a text: what can stand at the beginning."""
    nullable, before = set(), None

    def empty(e):
        kind = e[0]
        return (not e[1] if kind == "text" else False if kind == "class" else e[1] in nullable if kind == "rule" else
                any(map(empty, e[1])) if kind == "alt" else all(map(empty, e[1])) if kind == "seq" else
                e[2] == 0 or empty(e[1]))

    while before != len(nullable):
        before = len(nullable)
        nullable |= {name for name in rules if empty(rules[name])}

    def firsts(e):
        kind = e[0]
        if kind == "rule":
            return {e[1]}
        if kind == "alt":
            return set().union(*map(firsts, e[1]))
        if kind == "repeat":
            return set() if e[3] == 0 else firsts(e[1])
        found = set()
        for x in e[1] if kind == "seq" else []:
            found |= firsts(x)
            if not empty(x):
                break
        return found
    first = {name: firsts(rules[name]) for name in rules}
    for _ in rules:
        first = {name: first[name].union(*[first[x] for x in first[name]]) for name in rules}
    return any(name in first[name] for name in rules)


def main():
    rng, rows = random.Random(13), []
    while len(rows) < GRAMMARS:
        names = ["root", "x", "y-1", "z"][:rng.randint(1, 4)]
        rules = {name: draw(rng, names, 3) for name in names}
        order = names[:]
        rng.shuffle(order)
        gbnf = "\n".join("%s ::= %s" % (name, show(rules[name])) for name in order)
        if left_recursive(rules):
            if rng.random() < 0.03:
                rows.append([gbnf, None])
            continue
        row = "".join("1" if len(t) in ends(rules, rules["root"], t, 0, {}, frozenset()) else "0" for t in TEXTS)
        if "1" in row and (row.count("1") > 2 or rng.random() < 0.2):
            rows.append([gbnf, row])
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "grammar.json")
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print("%s: %d grammars, %d to be refused" % (path, len(rows), sum(row is None for _, row in rows)))


if __name__ == "__main__":
    main()
