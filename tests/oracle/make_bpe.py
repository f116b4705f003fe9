#!/usr/bin/env python3
"""Makes tests/oracle/data/bpe.txt, which tests/test_bpe.c reads: texts, and the vocabularies that others train on them.

Rule "ids": HF tokenizers' BpeTrainer. Rule "bytes": the algorithm of Sennrich et al. (2016) word for word, all pairs
counted anew before every merge, written here (Stanford CS336's reference, of which one vocabulary is known, is
reproduced by it: --check). What a text is then encoded as is said by HF tokenizers in both cases. A line a case, fields
between tabs; texts in hexadecimal:

    name  rule  vocab_size  min_frequency  max_token_bytes  pre  specials,...  texts,...  merges  text  ids

    python3 tests/oracle/make_bpe.py            writes the file (virtual environment of `make oracles`)
    python3 tests/oracle/make_bpe.py --check    trains on ../shared/data/tokenizer/bpe-train by the rule "bytes"
"""
import collections
import os
import random
import sys

import regex
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

DATA = os.environ.get("HYBRID_DATA", "../shared/data")
GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" \
         r"|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SHOWN = {}                                      # byte -> the character that GPT-2 writes for it
for byte in range(256):
    seen = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
    SHOWN[byte] = chr(byte) if seen else chr(256 + sum(c < 256 for c in SHOWN if ord(SHOWN[c]) >= 256))
ALPHABET = sorted(SHOWN.values(), key=ord)      # in the order of their ids


def spelled(data):
    return "".join(SHOWN[b] for b in data)


def documents(text, specials):
    if not specials:
        return [text]
    return regex.split("|".join(regex.escape(s) for s in sorted(specials, key=len, reverse=True)), text)


def tokenizer(pre, model, specials=()):
    t = Tokenizer(model)
    if pre == "gpt-2":
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        pattern = {"llama-bpe": LLAMA3, "qwen2": QWEN2}[pre]
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if pre == "qwen2":
        t.normalizer = normalizers.NFC()
    t.add_special_tokens([AddedToken(s, normalized=False) for s in specials])
    return t


def by_ids(case):
    t = tokenizer(case["pre"], models.BPE())
    more = {"max_token_length": case["longest"] + 1} if case["longest"] else {}     # theirs are shorter than it
    trainer = trainers.BpeTrainer(vocab_size=case["size"], min_frequency=case["least"], show_progress=False,
                                  special_tokens=case["specials"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **more)
    t.train_from_iterator([d for text in case["texts"] for d in documents(text, case["specials"])], trainer)
    folder = "build/bpe-oracle"
    os.makedirs(folder, exist_ok=True)
    t.model.save(folder)
    lines = open(folder + "/merges.txt", encoding="utf-8", newline="\n").read().split("\n")[1:-1]
    vocab = t.get_vocab()
    assert [vocab[x] for x in case["specials"] + ALPHABET] == list(range(len(case["specials"]) + 256))
    assert all(vocab[line.replace(" ", "")] == len(case["specials"]) + 256 + i for i, line in enumerate(lines))
    return lines


def by_bytes(case):
    """One word at a time, one merge after the other."""
    words = collections.Counter()
    for text in case["texts"]:
        for d in documents(text, case["specials"]):
            cutter = tokenizer(case["pre"], models.BPE())
            if cutter.normalizer:
                d = cutter.normalizer.normalize_str(d)
            words.update(w for w, _ in cutter.pre_tokenizer.pre_tokenize_str(d))
    back = {c: b for b, c in SHOWN.items()}
    words = {tuple(bytes([back[c]]) for c in w): n for w, n in words.items()}
    merges = []
    while len(merges) < case["size"] - 256 - len(case["specials"]):
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                if not case["longest"] or len(pair[0] + pair[1]) <= case["longest"]:
                    pairs[pair] += n
        if not pairs:
            break
        count, best = max((n, pair) for pair, n in pairs.items())
        if count < case["least"]:
            break
        merges.append(spelled(best[0]) + " " + spelled(best[1]))
        merged = {}
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        words = merged
    return merges


def encode(case, merges):
    tokens = case["specials"] + ALPHABET + [m.replace(" ", "") for m in merges]
    assert len(set(tokens)) == len(tokens)
    model = models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges],
                       ignore_merges=case["pre"] == "llama-bpe")
    return tokenizer(case["pre"], model, case["specials"]).encode(case["encode"]).ids


HOSTILE = "Grüße, 東京タワー! ไทย \u0628\u0627 naïve cafe\u0301 e\u0301\u0323 \u212b \U0001f600\U0001f469\u200d\U0001f680 " \
          "don't DON'T I'll 12345 3.14 x²  \t\n\n \r\n\x00\x01\x7f~ <|endoftext|> a<|b|>c \u3000\u00a0end   "


def words_of(rng, letters, n, longest):
    return " ".join("".join(rng.choice(letters) for _ in range(rng.randint(1, longest))) for _ in range(n))


def cases():
    rng = random.Random("bpe")
    plain = dict(size=300, least=0, longest=0, pre="gpt-2", specials=["<|endoftext|>"], encode=HOSTILE)
    article = "low low low low low lower lower widest widest widest newest newest newest newest newest newest "
    yield dict(plain, name="lectures' example", texts=[article], size=270)
    yield dict(plain, name="empty", texts=[""], size=400)
    yield dict(plain, name="no specials", texts=[article, ""], specials=[])
    yield dict(plain, name="unicode", texts=[HOSTILE * 3, "日本語 日本 本日 " * 3 + HOSTILE], size=420)
    yield dict(plain, name="until nothing is left", texts=["the cat sat on the mat. the cat sat."], size=2000)
    yield dict(plain, name="seldom pairs", texts=[words_of(rng, "abcdef", 60, 5)], size=2000, least=3)
    yield dict(plain, name="runs", texts=["aaaaaaa aaaa aaa aa a aaaaaaaaaaaaa baaab abaaabaaaa " + "z" * 700])
    yield dict(plain, name="runs of pairs", texts=["ababababab abab babab aababa " + "xyx" * 50])
    yield dict(plain, name="ties", texts=["ab cd ef gh ij kl mn op qr st uv wx yz \u00e9\u00e8 \u4e2d\u6587 zy xw"])
    yield dict(plain, name="ties of long tokens", size=360,
               texts=["zbcdefghij\n" * 40 + "\n".join("zbcdefghij%sx\nzbcdefghij%s" % (c, c) for c in "KQLBPAMZCODNY")])
    yield dict(plain, name="two letters", texts=[words_of(rng, "ab", 80, 9)], size=360)
    yield dict(plain, name="three letters", size=380,
               texts=[words_of(rng, "abc", 90, 7), words_of(rng, "abc", 30, 20)])
    yield dict(plain, name="short tokens", texts=["banana bananas ananas " * 5 + "aaaaaaaaaaaaaaaa"], longest=4)
    specials = ["<|endoftext|>", "<|end|>", "<|end|>of", "##", "\u2603\u2603"]
    text = "one two<|endoftext|>two one one two<|end|>of one ##two##one two \u2603\u2603\u2603two<|end|>one" \
           "<|endoftext|>"
    yield dict(plain, name="specials", texts=[text, text + "<|endoftext|>", "<|endoftex one"], specials=specials,
               encode=text + HOSTILE)
    yield dict(plain, name="llama", pre="llama-bpe", texts=[HOSTILE * 2 + article], size=400, encode=HOSTILE + article)
    yield dict(plain, name="qwen", pre="qwen2", texts=[HOSTILE * 2 + "e\u0301te\u0301 \u00e9t\u00e9 " * 4], size=380)
    yield dict(plain, name="line ends", texts=["a\nb\n\nc\r\n\r\n d\n  e \n\n\n f" * 4], size=290)


def hexes(strings):
    return ",".join(s.encode().hex() for s in strings) or "-"


def main():
    if "--check" in sys.argv:
        folder = DATA + "/tokenizer/bpe-train/"
        case = dict(texts=[open(folder + "corpus.en", encoding="utf-8", newline="").read()], size=500, least=0,
                    longest=0, pre="gpt-2", specials=["<|endoftext|>"])
        right = open(folder + "train-bpe-reference-merges.txt", encoding="utf-8").read().split("\n")
        print("the same" if by_bytes(case) == [line for line in right if line] else "DIFFERENT")
        return
    lines = []
    for case in cases():
        for rule, train in (("ids", by_ids), ("bytes", by_bytes)):
            merges = train(case)
            lines.append("\t".join([
                case["name"], rule, str(case["size"]), str(case["least"]), str(case["longest"]), case["pre"],
                hexes(case["specials"]), ",".join(t.encode().hex() for t in case["texts"]),
                "".join(m + "\n" for m in merges).encode().hex() or "-", case["encode"].encode().hex(),
                " ".join(map(str, encode(case, merges)))]) + "\n")
            print(case["name"], rule, len(merges))
    open("tests/oracle/data/bpe.txt", "w").writelines(lines)


main()
