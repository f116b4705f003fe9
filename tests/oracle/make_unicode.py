#!/usr/bin/env python3
"""Makes src/text/unicode_data.c: which class (see src/text/unicode.c) every code point has.

Source: the Unicode Character Database as packaged in `unicodedata2` (pip install unicodedata2==16.0.0). 16.0 is the version that
HF tokenizers 0.23 and tiktoken 0.14 use, code point for code point (tests/oracle/tok_classes.py compares them).
Run from the root of the repository: python3 tests/oracle/make_unicode.py
"""
import sys
import unicodedata2 as ucd

VERSION = "16.0.0"
if ucd.unidata_version != VERSION:
    sys.exit(f"need unicodedata2=={VERSION}, found {ucd.unidata_version}")

# White_Space of PropList.txt: what \s means in every regular expression that a tokenizer uses.
SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CLASS = {"Lu": 1, "Lt": 2, "Ll": 3, "Lm": 4, "Lo": 5, "Mn": 6, "Mc": 6, "Me": 6, "Nd": 7, "Nl": 7, "No": 7,
         "Pc": 8, "Pd": 8, "Ps": 8, "Pe": 8, "Pi": 8, "Pf": 8, "Po": 8, "Sm": 9, "Sc": 9, "Sk": 9, "So": 9}

# The letters of DeepSeek-LLM's second split, as its tokenizer.json spells them.
DEEPSEEK = ("A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"
            "ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")


def class_of(cp):
    if cp in (10, 13):
        return 11
    if cp in SPACE:
        return 10
    return CLASS.get(ucd.category(chr(cp)), 0)


def ranges_of(spelling):
    out, i = [], 0
    while i < len(spelling):
        last = spelling[i + 2] if spelling[i + 1:i + 2] == "-" else spelling[i]
        out.append((ord(spelling[i]), ord(last)))
        i += 3 if spelling[i + 1:i + 2] == "-" else 1
    return out


def table(values, per_line, form):
    lines = [", ".join(form % v for v in values[i:i + per_line]) for i in range(0, len(values), per_line)]
    return ",\n".join("    " + line for line in lines)


runs, before = [], None
for cp in range(0x110000):
    k = class_of(cp)
    if k != before:
        runs.append(cp << 4 | k)
        before = k
deepseek = [v for r in ranges_of(DEEPSEEK) for v in r]

with open("src/text/unicode_data.c", "w", encoding="ascii") as f:
    f.write(f"""/* text/unicode_data: made by tests/oracle/make_unicode.py from the Unicode Character Database {VERSION}; do not edit.
 * Every entry begins a run of code points of one class: first code point << 4 | class (hybrid__char_class in text/unicode.c). */
static const uint32_t hybrid__unicode_runs[{len(runs)}] = {{
{table(runs, 16, "0x%X")}
}};

/* First and last code points: the letters that DeepSeek-LLM's pre-tokenizer spells out. */
static const uint32_t hybrid__deepseek_letters[{len(deepseek)}] = {{
{table(deepseek, 18, "0x%X")}
}};
""")
print(len(runs), "runs,", len(deepseek) // 2, "ranges")
