#!/usr/bin/env python3
"""Makes the vectors that tests/test_tokenizer.c reads, each with somebody else's implementation:

tests/oracle/data/tok_hf.txt     the HF cases of shared/data/tokenizer/vectors (extracted there from transformers.js), as lines
tests/oracle/data/tok_llama.txt  random texts with what llama.cpp (llama-cpp-python) makes of them
tests/oracle/data/tok_split.txt  random texts cut by the pre-tokenizers' regular expressions, run by HF tokenizers' engine

Run from the root of the repository with the virtual environment of `make oracles`. Deterministic.
"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tok_random  # noqa: E402

DATA = os.environ.get("HYBRID_DATA", "../shared/data")
OUT = "tests/oracle/data/"


def text_field(text):
    return text.encode().hex() or "-"


def hf_cases():
    """vocabulary <tab> text (hex) <tab> ids"""
    vectors = json.load(open(f"{DATA}/tokenizer/vectors/hf-transformersjs-tokenizers.json"))
    lines = []
    for name in sorted(vectors):
        vocab = os.path.basename(vectors[name]["vocab"])
        if "bert" in vocab:
            continue
        for case in vectors[name]["cases"]:
            lines.append(f"{vocab}\t{text_field(case['text'])}\t{' '.join(map(str, case['ids']))}\n")
    open(OUT + "tok_hf.txt", "w").writelines(lines)
    print("tok_hf.txt", len(lines))


def llama_cases(per_vocab=40):
    """vocabulary <tab> flags <tab> text (hex) <tab> ids"""
    lines = []
    for vocab in tok_random.VOCABS:
        rng = random.Random("stored " + vocab)
        peer = tok_random.Llama(f"{DATA}/vocab/ggml-vocab-{vocab}.gguf")
        for _ in range(per_vocab):
            text, flags = tok_random.text(rng, peer.specials, 12), rng.randrange(4)
            if tok_random.known_difference(vocab, text):
                continue
            lines.append(f"ggml-vocab-{vocab}.gguf\t{flags}\t{text_field(text)}\t{' '.join(map(str, peer.encode(text, flags)))}\n")
    open(OUT + "tok_llama.txt", "w").writelines(lines)
    print("tok_llama.txt", len(lines))


CORNERS = ["\u0301!!", "\u0301ABC", "\u0301Abc", "(\u0301)", "\u30fcAB", "A\u30fcB'S", "HELLOworld'll've", " \u0301x", "\u3000\u3000a", "a\u3000!", "12345\u0661\u0662", " 1234", "\n\n 1", "a \n\t b",
           "x  ", "!?\r\n\r\n/", "\tx", "\u00a0\u00a0y", "'\u017f'S", "don\u2019t 'Tis", "a\u200db", "$1,000.00 #tag @me", "if(a<b){c;}", "\u65e5\u672cab\uac00\u304b1"]


def split_cases(per_pre=25):
    """pre-tokenizer <tab> text (hex) <tab> ends of the words in bytes"""
    lines = []
    for pre in tok_random.REGEX:
        rng = random.Random("stored " + pre)
        for text in CORNERS + [tok_random.text(rng, [], 10) for _ in range(per_pre)]:
            at, ends = 0, []
            for word in tok_random.regex_split(pre, text):
                at += len(word.encode())
                ends.append(str(at))
            lines.append(f"{pre}\t{text_field(text)}\t{' '.join(ends)}\n")
    open(OUT + "tok_split.txt", "w").writelines(lines)
    print("tok_split.txt", len(lines))


if __name__ == "__main__":
    hf_cases()
    split_cases()
    llama_cases()
