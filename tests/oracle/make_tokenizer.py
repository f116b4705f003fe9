#!/usr/bin/env python3
"""Makes the vectors that tests/test_tokenizer.c reads, each with somebody else's implementation:

tests/oracle/data/tok_hf.txt     the HF cases of shared/data/tokenizer/vectors
                                 (extracted there from transformers.js), as lines
tests/oracle/data/tok_llama.txt  random texts with what llama.cpp (llama-cpp-python) makes of them
tests/oracle/data/tok_split.txt  random texts cut by the pre-tokenizers' regular
                                 expressions, run by HF tokenizers' engine
tests/oracle/data/tok_nfc.txt    texts and what HF tokenizers' normalization form C makes of them
tests/oracle/data/tok_rwkv.txt   a vocabulary of RWKV's kind, random bytes, and what a
                                 trie in Python makes of them; llama.cpp agrees with all of it

Run from the root of the repository with the virtual environment of `make oracles`. Deterministic.
"""
import json
import os
import random
import sys
import tempfile
import unicodedata

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
            lines.append(
                f"ggml-vocab-{vocab}.gguf\t{flags}\t{text_field(text)}\t{' '.join(map(str, peer.encode(text, flags)))}\n")
    open(OUT + "tok_llama.txt", "w").writelines(lines)
    print("tok_llama.txt", len(lines))


CORNERS = ["\u0301!!", "\u0301ABC", "\u0301Abc", "(\u0301)", "\u30fcAB", "A\u30fcB'S", "HELLOworld'll've", " \u0301x",
           "\u3000\u3000a", "a\u3000!", "12345\u0661\u0662", " 1234", "\n\n 1", "a \n\t b",
           "x  ", "!?\r\n\r\n/", "\tx", "\u00a0\u00a0y", "'\u017f'S", "don\u2019t 'Tis", "a\u200db",
           "$1,000.00 #tag @me", "if(a<b){c;}", "\u65e5\u672cab\uac00\u304b1"]


# Characters that the expressions of single families are about.
OF_FAMILY = {"superbpe": "0123456789\u0663\u00bd\u2167\u00b2a ", "jais-2": "  \u00a0\t\n a",
             "exaone-moe": "ab \u0301 \n'!/\r1",
             "spark2_5": "\n\r 1a!\u6f22\u3041\t",
             "chameleon": ["IMGIMG", "A", "I", "Z", "<sentinel:", "1", ">", "   ", "    ", " ", "\t", "a"],
             "laguna": "\n\r a1!'s", "bloom": " a(|.,\u2026\u09641\n\t\u00a0", "viking": " a(|.,1\n",
             "minicpm5": "12a \n'",
             "seed-coder": "a1!\n\r '", "ufakzeka": "a1!\n's ",
             "kimi-k2": "aAbʰ\u0301\u3007\u2e80\u4e00\u3005漢!1 '\n/\u3042",
             "youtu": "aA1가ㄱ\uff01!\u2026\u3001\u3040ㄅ漢カ/\n ",
             "tiny_aya": "0123456789\u0663\u00b2\u2167_a\u0301, ",
             "afmoe": "0123456789\u0663\u00bd漢가ไ\u2f00\uff65a! \n"}


def family_texts(pre, rng):
    """For the newer families; the long runs of spaces are Jais's."""
    out = ["".join(rng.choice(OF_FAMILY[pre]) for _ in range(rng.randrange(1, 24))) for _ in range(25)]
    return out + ["x" + " " * n + e for n, e in ((3, "y"), (7, ""), (600, "\nz"), (1030, "y")) if pre == "jais-2"]


def split_cases(per_pre=25):
    """pre-tokenizer <tab> text (hex) <tab> ends of the words in bytes"""
    lines = []
    for pre in tok_random.REGEX:
        rng = random.Random("stored " + pre)
        texts = CORNERS + [tok_random.text(rng, [], 10) for _ in range(per_pre)]
        for text in family_texts(pre, rng) + texts[:4] if pre in OF_FAMILY else texts:
            at, ends = 0, []
            for word in tok_random.regex_split(pre, text):
                at += len(word.encode())
                ends.append(str(at))
            lines.append(f"{pre}\t{text_field(text)}\t{' '.join(ends)}\n")
    open(OUT + "tok_split.txt", "w").writelines(lines)
    print("tok_split.txt", len(lines))


def nfc_cases():
    """text (hex) <tab> normalized (hex)"""
    from tokenizers import normalizers
    nfc, rng, texts = normalizers.NFC(), random.Random("stored nfc"), []
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    marks = [chr(c) for c in points if unicodedata.combining(chr(c))]
    parts = [chr(c) for c in points if unicodedata.decomposition(chr(c))
             and "<" not in unicodedata.decomposition(chr(c))]
    hangul = [chr(c) for c in (0x1100, 0x1112, 0x1113, 0x1161, 0x1175, 0x1176, 0x11A7, 0x11A8, 0x11C2, 0x11C3, 0xAC00,
                               0xAC01, 0xD788)]
    letters, usual = list("aeiouAsq \n"), [chr(c)
                                           for c in (0x300, 0x301, 0x302, 0x308, 0x30A, 0x323, 0x327, 0x328, 0x338)]
    for k in range(240):
        pool = [letters + usual, letters + marks, parts + marks, hangul + letters[:1],
                parts + letters + hangul + usual][k % 5]
        texts.append("".join(rng.choice(pool) for _ in range(rng.randrange(1, 10))))
    texts += ["x" + "".join(rng.choice(usual) for _ in range(n)) + "\u00e9!" for n in (31, 32, 33, 34, 63, 64, 65, 120)]
    texts += ["e\u0301", "n\u0303o", "A\u030a", "\u212b", "\u0344", "\U0001d160", "\ufb2c", "", "plain", "\u00e9\u4e2d"]
    lines = [f"{text_field(t)}\t{text_field(nfc.normalize_str(t))}\n" for t in texts]
    open(OUT + "tok_nfc.txt", "w").writelines(lines)
    print("tok_nfc.txt", len(lines), "of them changed:", sum(nfc.normalize_str(t) != t for t in texts))


def rwkv_vocabulary(rng):
    """(bytes, type): all bytes, and tokens that begin with one another, of text, of halves of characters and of a few
    bytes only."""
    words = {bytes([b]) for b in range(256)}
    for _ in range(160):
        s = tok_random.text(rng, [], 3).encode()
        at = rng.randrange(len(s) + 1)
        words.add(s[at:at + rng.randrange(1, 14)])
    for _ in range(120):
        words.add(bytes(rng.choice(b"ab\n'\"\\") for _ in range(rng.randrange(2, 10))))
    words |= {b"\\x41", b"\\n", b"'\"", b"\\", b"a" * 90, b"a" * 60 + b"b", b"\0\0", b"\xff\xfe", b"\r\n"}
    words = [w for w in words if w and b"<" not in w and b"[" not in w or len(w) == 1]
    normal = sorted(words, key=lambda w: (len(w), w))
    return [(b"<s>", 3)] + [(w, 1) for w in normal] + [(b"<|user|>", 4), (b"<|end|>", 3), (b"[PAD900]", 5)]


def rwkv_ids(tokens, text, flags):
    """Longest match from left to right; control tokens, where they are asked for, and user-defined ones come first."""
    special = {w: i for i, (w, kind) in enumerate(tokens) if kind == 4 or (kind == 3 and flags & 2)}
    places = [text.find(w) for w in special if w in text]
    if places:
        at = min(places)
        word = next(w for w in special if text.startswith(w, at))
        return rwkv_ids(tokens, text[:at], flags) + [special[word]] + rwkv_ids(tokens, text[at + len(word):], flags)
    root, out, at = {}, [], 0
    for i, (w, kind) in enumerate(tokens):
        node = root
        for b in w if kind == 1 else b"":
            node = node.setdefault(b, {})
        if kind == 1:
            node.setdefault(None, i)
    while at < len(text):
        node, end = root, at
        for k in range(at, len(text)):
            node = node.get(text[k])
            if node is None:
                break
            if None in node:
                end, best = k + 1, node[None]
        out.append(best)
        at = end
    return out


def rwkv_peer(tokens):
    """llama.cpp with this vocabulary."""
    import gguf
    path = os.path.join(tempfile.mkdtemp(prefix="hybrid-tok-"), "rwkv.gguf")
    w = gguf.GGUFWriter(path, "rwkv7")
    w.add_tokenizer_model("rwkv")
    w.add_token_list([repr(word)[2:-1] for word, _ in tokens])
    w.add_token_types([kind for _, kind in tokens])
    for add in (w.add_context_length, w.add_embedding_length, w.add_block_count, w.add_feed_forward_length,
                w.add_wkv_head_size,
                w.add_decay_lora_rank, w.add_iclr_lora_rank, w.add_value_residual_mix_lora_rank, w.add_gate_lora_rank):
        add(64)
    w.add_head_count(0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return tok_random.Llama(path)


def rwkv_cases(n=150):
    """token <tab> type <tab> spelling (hex); text <tab> flags <tab> text (hex) <tab> ids"""
    rng = random.Random("stored rwkv")
    tokens = rwkv_vocabulary(rng)
    peer, lines = rwkv_peer(tokens), []
    for w, kind in tokens:
        lines.append(f"token\t{kind}\t{repr(w)[2:-1].encode().hex()}\n")
    parts = [w for w, _ in tokens]
    for k in range(n):
        text = b"".join(rng.choice([rng.choice(parts), bytes([rng.randrange(256)]),
                                    tok_random.text(rng, [], 2).encode(),
                                    b"a" * rng.randrange(130)]) for _ in range(rng.randrange(10)))
        flags = rng.randrange(4)
        if b"[PAD" in text or (not flags & 2 and (b"<s>" in text or b"<|end|>" in text)):
            continue                                 # llama.cpp takes these for text
        ids = rwkv_ids(tokens, text, flags)
        assert ids == list(peer.encode(text, flags)), text
        lines.append(f"text\t{flags}\t{text.hex() or '-'}\t{' '.join(map(str, ids))}\n")
    open(OUT + "tok_rwkv.txt", "w").writelines(lines)
    print("tok_rwkv.txt", len(lines))


if __name__ == "__main__":
    rwkv_cases()
    hf_cases()
    split_cases()
    nfc_cases()
    llama_cases()
