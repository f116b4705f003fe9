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

# The letters of DeepSeek-LLM's second split as its tokenizer.json spells them (in hex: copied as text, some would be normalized).
DEEPSEEK = """
41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481
48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45
1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC
1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183
2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17
FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""


def class_of(cp):
    if cp in (10, 13):
        return 11
    if cp in SPACE:
        return 10
    return CLASS.get(ucd.category(chr(cp)), 0)


def ranges_of(spelling):
    ends = [r.split("-") for r in spelling.split()]
    return [(int(r[0], 16), int(r[-1], 16)) for r in ends]


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
