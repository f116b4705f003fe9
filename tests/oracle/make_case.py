#!/usr/bin/env python3
"""Makes src/text/jinja/case.c: case and kinds of characters as Python's str knows them (what templates were written
against).

Source: the str methods of the Python that runs this (3.11: Unicode 14). What src/text/unicode_data.c says already
(letters, marks, numbers) is not said again. Run from the root of the repository: python3 tests/oracle/make_case.py
"""
import sys
import unicodedata

ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def runs(points):
    """Sorted code points as (first, count, step): step 1 or 2."""
    out, i = [], 0
    while i < len(points):
        best = (1, 1)
        for step in (1, 2):
            n = 1
            while i + n < len(points) and points[i + n] == points[i] + n * step:
                n += 1
            if n > best[0]:
                best = (n, step)
        out.append((points[i], *best))
        i += best[0]
    return out


def rows(values, form="0x%X", per_line=None):
    line, out = "   ", []
    for v in values:
        text = " " + form % v + ","
        if len(line) + len(text) > 118:
            out.append(line)
            line = "   "
        line += text
    return "\n".join(out + [line.rstrip(",")])


def check(r):
    """hyb_jcase_run looks at the last run that begins at or before a character, and at seven before it."""
    for i, (first, n, step) in enumerate(r):
        last = first + (n - 1) * step
        assert i + 8 >= len(r) or r[i + 8][0] > last, hex(first)


def put_set(name, why, points):
    r = runs(sorted(map(ord, points)))
    check(r)
    flat = [v for first, n, step in r for v in (first, n * 2 + step - 1)]
    print(f"/* {why} */\nstatic const uint32_t hyb_jcase_{name}[] = {{\n{rows(flat)}\n}};\n")


def put_map(name, why, pairs):
    """Runs of equal distance: first, count and step, distance (modulo 2^32)."""
    by = {}
    for c, to in pairs:
        by.setdefault((to - c) & 0xFFFFFFFF, []).append(c)
    r = sorted((first, n * 2 + step - 1, d) for d, points in by.items() for first, n, step in runs(sorted(points)))
    check([(first, n // 2, n % 2 + 1) for first, n, d in r])
    print(f"/* {why} */\nstatic const uint32_t hyb_jcase_{name}[] = {{\n{rows([v for x in r for v in x])}\n}};\n")


def put_special(name, why, f, base):
    many = [c for c in ALL if f(c) != base(c) and len(f(c)) > 1]
    flat = [v for c in many for v in ([ord(c)] + [ord(x) for x in f(c)] + [0, 0])[:4]]
    print(f"/* {why} */\nstatic const uint16_t hyb_jcase_{name}[] = {{\n{rows(flat)}\n}};\n")


def one(f):
    return [(ord(c), ord(f(c))) for c in ALL if len(f(c)) == 1 and f(c) != c]


def letter(c):
    return unicodedata.category(c)[0] == "L"


sys.stdout = open("src/text/jinja/case.c", "w", encoding="ascii")
print(f"""/* text/jinja_case: made by tests/oracle/make_case.py from the str of Python {sys.version.split()[0]} (Unicode {unicodedata.unidata_version}); do not edit.
 * A set is runs of two numbers: the first code point, and twice the count of code points, plus 1 when only every second
 * one is meant. A mapping has a third: what is added. Of characters that become several: the character, and up to three
 * that it becomes. */
""")
put_map("upper", "str.upper", one(str.upper))
put_map("lower", "str.lower", one(str.lower))
put_map("title", "str.title, where it is not str.upper",
        [(ord(c), ord(c.title())) for c in ALL if len(c.title()) == 1 and (c.title() != c.upper())])
put_map("fold", "str.casefold, where it is not str.lower",
    [(ord(c), ord(c.casefold())) for c in ALL if len(c.casefold()) == 1 and c.casefold() != c.lower()])
put_special("uppers", "Those that upper makes several of", str.upper, lambda c: c)
put_special("titles", "and title", str.title, lambda c: c)
put_special("folds", "and casefold", str.casefold, lambda c: c)
put_set("is_upper", "str.isupper", [c for c in ALL if c.isupper()])
put_set("is_lower", "str.islower", [c for c in ALL if c.islower()])
put_set("ignorable", "What is skipped in looking for the letters beside a sigma",
    [c for c in ALL if ("a" + c + "\u03A3").lower()[-1] == "\u03C2" and (c + "\u03A3").lower()[-1] != "\u03C2"])
put_set("zeros", "The zeros of decimal digits: nine more follow each",
        [c for c in ALL if c.isdecimal() and unicodedata.decimal(c) == 0])
put_set("digits", "Digits that are not decimal ones", [c for c in ALL if c.isdigit() and not c.isdecimal()])
put_set("numbers", "Letters that are numbers", [c for c in ALL if c.isnumeric() and letter(c)])
put_set("names", "What begins a name, though no letter", [c for c in ALL if c.isidentifier() and not letter(c)])
put_set("no_names", "Letters that do not", [c for c in ALL if not c.isidentifier() and letter(c)])
put_set("inside", "What continues one, though no letter, decimal digit or mark",
    [c for c in ALL if ("a" + c).isidentifier() and not letter(c) and not c.isdecimal()
     and unicodedata.category(c)[0] != "M"])
put_set("no_inside", "Letters, decimal digits or marks that do not",
    [c for c in ALL if not ("a" + c).isidentifier()
     and (letter(c) or c.isdecimal() or unicodedata.category(c)[0] == "M")])
