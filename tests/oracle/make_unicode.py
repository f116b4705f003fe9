#!/usr/bin/env python3
"""Makes src/text/unicode_data.c: which class (see src/text/unicode.c) every code point has.

Source: the Unicode Character Database as packaged in `unicodedata2` (pip install unicodedata2==16.0.0). 16.0 is the
version that HF tokenizers 0.23 and tiktoken 0.14 use, code point for code point (tests/oracle/tok_classes.py compares
them).
The tables of NFC are those of that database without the characters that HF tokenizers' normalizer does not know yet: it
goes by Unicode 9.
Run from the root of the repository with the virtual environment of `make oracles`: python3 tests/oracle/make_unicode.py
"""
import sys
import unicodedata2 as ucd
from tokenizers import Regex, normalizers
from tokenizers.pre_tokenizers import Split

VERSION = "16.0.0"
if ucd.unidata_version != VERSION:
    sys.exit(f"need unicodedata2=={VERSION}, found {ucd.unidata_version}")

# White_Space of PropList.txt: what \s means in every regular expression that a tokenizer uses.
SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CLASS = {"Lu": 1, "Lt": 2, "Ll": 3, "Lm": 4, "Lo": 5, "Mn": 6, "Mc": 6, "Me": 6, "Nd": 7, "Nl": 7, "No": 7,
         "Pc": 8, "Pd": 8, "Ps": 8, "Pe": 8, "Pi": 8, "Pf": 8, "Po": 8, "Sm": 9, "Sc": 9, "Sk": 9, "So": 9}

# The letters of DeepSeek-LLM's second split as its tokenizer.json spells them (in hex: copied as text, some would be
# normalized).
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


def hf_knows(cp):
    """Whether HF's NFC gives a code point the combining class and the decomposition that the database gives it."""
    hf, c = normalizers.NFC(), chr(cp)
    texts = [c, ucd.normalize("NFD", c), "q\u0301" + c + "\u0334", "q\u0345" + c]
    return all(hf.normalize_str(t) == ucd.normalize("NFC", t) for t in texts)


POINTS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
cclass, split, composes = {}, {}, {}
for cp in POINTS:
    decomposition = ucd.decomposition(chr(cp))
    if not (ucd.combining(chr(cp)) or (decomposition and not decomposition.startswith("<"))) or not hf_knows(cp):
        continue
    if ucd.combining(chr(cp)):
        cclass[cp] = ucd.combining(chr(cp))
    if decomposition and not decomposition.startswith("<"):
        split[cp] = [int(x, 16) for x in decomposition.split()] + ([0] if " " not in decomposition else [])
        if ucd.normalize("NFC", chr(cp)) == chr(cp):
            composes[cp] = split[cp]
assert all(second not in split for first, second in split.values()), "only what comes first is split again"
order = sorted(split)
compose = sorted((pair, order.index(cp)) for cp, pair in composes.items())
JAMO = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]
unstable = {*cclass, *(cp for cp in split if cp not in composes), *(b for a, b in composes.values()), *JAMO}
edges = [cp for cp in range(0x110000) if (cp in unstable) != (cp - 1 in unstable)]
marks, before = [], 0
for cp in range(0x110000):
    if cclass.get(cp, 0) != before:
        before = cclass.get(cp, 0)
        marks.append(cp << 8 | before)
deepseek = [v for r in ranges_of(DEEPSEEK) for v in r]


def matched(pattern):
    """The code points that HF tokenizers' engine finds for a pattern: it has the scripts, which unicodedata2 has
    not."""
    split, left = Split(Regex(pattern), "removed"), set()
    for i in range(0, len(POINTS), 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, POINTS[i:i + 4096]))):
            left |= {ord(c) for c in piece}
    return set(POINTS) - left


def ends_of(points):
    return [v for v in range(0x110001) if (v in points) != (v - 1 in points)]


digits = ends_of(matched(r"\d"))
words = ends_of(matched(r"\w") - matched(r"[\p{L}\p{M}\d]"))
han = ends_of(matched(r"\p{Han}"))
assert matched(r"[\p{L}\p{M}\d]") <= matched(r"\w")

with open("src/text/unicode_data.c", "w", encoding="ascii") as f:
    f.write(f"""/* text/unicode_data: made by tests/oracle/make_unicode.py from the Unicode Character Database {VERSION}; do not edit.
 * Every entry begins a run of code points of one class: first code point << 4 | class (hyb_char_class in
 * text/unicode.c). */
static const uint32_t hyb_unicode_runs[{len(runs)}] = {{
{table(runs, 11, "0x%X")}
}};

/* First and last code points: the letters that DeepSeek-LLM's pre-tokenizer spells out. */
static const uint32_t hyb_deepseek_letters[{len(deepseek)}] = {{
{table(deepseek, 13, "0x%X")}
}};

/* \\d: the first of each run and the first after it. */
static const uint32_t hyb_digit_edges[{len(digits)}] = {{
{table(digits, 12, "0x%X")}
}};

/* \\w that is neither \\p{{L}} nor \\p{{M}} nor \\d. */
static const uint32_t hyb_word_edges[{len(words)}] = {{
{table(words, 12, "0x%X")}
}};

/* \\p{{Han}}, the script. */
static const uint32_t hyb_han_edges[{len(han)}] = {{
{table(han, 12, "0x%X")}
}};

/* NFC, as HF tokenizers know it (Unicode 9). Canonical decompositions, sorted: code point << 42 | first << 21 | second
 * (0: there is none). */
static const uint64_t hyb_nfc_splits[{len(order)}] = {{
{table([cp << 42 | split[cp][0] << 21 | split[cp][1] for cp in order], 5, "0x%X")}
}};

/* Those that are composed again: their places in the table above, sorted by first and second. */
static const uint16_t hyb_nfc_composes[{len(compose)}] = {{
{table([i for _, i in compose], 22, "%d")}
}};

/* Canonical combining classes: first code point of a run << 8 | class. */
static const uint32_t hyb_nfc_classes[{len(marks)}] = {{
{table(marks, 10, "0x%X")}
}};

/* Where NFC has something to do: code points that may follow others differently (a class other than 0, the second of a
 * composition), or are never left as they are. The first of a run, then the first after it, and so on. */
static const uint32_t hyb_nfc_edges[{len(edges)}] = {{
{table(edges, 12, "0x%X")}
}};
""")
print(len(runs), "runs,", len(deepseek) // 2, "ranges,", len(order), "splits,", len(compose), "composed,", len(marks),
      "classes,", len(edges), "edges")
