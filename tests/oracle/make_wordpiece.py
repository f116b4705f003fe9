#!/usr/bin/env python3
"""make_wordpiece: src/text/tokenizer/wordpiece_data.c, the sets of characters that BERT's normalizer speaks of, by
unicodedata2 (Unicode 16.0) and Python's str.lower.

    python tests/oracle/make_wordpiece.py             needs unicodedata2
"""
import os
import sys

import unicodedata2 as ud

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "src", "text", "tokenizer", "wordpiece_data.c")
HEAD = '''\
/* text/tokenizer/wordpiece_data: made by tests/oracle/make_wordpiece.py from unicodedata2 (Unicode %s) and the
 * str of Python %d.%d; do not edit. A set is runs of two numbers: the first code point, and twice the count of code
 * points, plus 1 when only every second one is meant. A mapping has a third: what is added. */
#ifndef HYB_TEXT_TOKENIZER_WORDPIECE_DATA_C
#define HYB_TEXT_TOKENIZER_WORDPIECE_DATA_C
#include "../../core/macros.h"
'''


def runs(points):
    """points: {code point: value}, into [first, 2 * count + odd, value]."""
    out, rest = [], sorted(points)
    while rest:
        first, value = rest[0], points[rest[0]]
        best = 1, 1
        for step in (1, 2):
            n = 1
            while points.get(first + n * step) == value and (step == 1 or first + n * step - 1 not in points):
                n += 1
            if n > best[0]:
                best = n, step
        n, step = best
        out.append([first, 2 * ((n - 1) * step + 1) + (step == 2), value & 0xFFFFFFFF])
        taken = {first + i * step for i in range(n)}
        rest = [p for p in rest if p not in taken]
    return out


def table(f, title, name, points, mapping=False):
    numbers = ["0x%X" % x for run in runs(points) for x in run[:3 if mapping else 2]]
    f.write("\n/* %s */\nstatic const uint32_t %s[] = {\n" % (title, name))
    line = "   "
    for i, x in enumerate(numbers):
        word = " " + x + ("," if i + 1 < len(numbers) else "")
        if len(line + word) > 119:
            f.write(line + "\n")
            line = "   "
        line += word
    f.write(line + "\n};\n")


def main():
    every = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    marks = {c: 0 for c in every if ud.category(chr(c)) == "Mn"}
    dropped = {c: 0 for c in every if ud.category(chr(c)) in ("Cc", "Cf", "Co") and c not in (9, 10, 13) or c == 0xFFFD}
    lower = {c: ord(chr(c).lower()) - c for c in every if len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)}
    with open(OUT, "w", encoding="utf-8") as f:
        f.write(HEAD % ((ud.unidata_version,) + sys.version_info[:2]))
        table(f, "Marks without a width of their own (Mn), which are taken off letters", "hyb_wordpiece_marks", marks)
        table(f, "Characters that are left out: controls, formats, private ones", "hyb_wordpiece_dropped", dropped)
        table(f, "str.lower, where it is one character", "hyb_wordpiece_lower", lower, True)
        f.write("#endif\n")


if __name__ == "__main__":
    main()
