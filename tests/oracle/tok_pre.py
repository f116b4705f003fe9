#!/usr/bin/env python3
"""Every name of tokenizer.ggml.pre that llama.cpp knows, one after the other in front of one vocabulary that shows
where words were cut: all bytes, all pairs of bytes (merged in a random order), and a few words that no merges lead to.

    python3 tests/oracle/tok_pre.py            compares hybrid's ids with llama.cpp's; prints the names that differ
    python3 tests/oracle/tok_pre.py --write    also writes tests/oracle/data/tok_pre.txt for tests/test_tokenizer.c:
                                               name, the first name that cuts all texts like it, ignore_merges, add_bos

llama.cpp tells known names from unknown ones by refusing those, so the list was found by asking for every word in its
library. Where it departs from the expressions of Hugging Face's tokenizers, hybrid follows those (tok_random.py runs
them):
 - its engine has no \\p{Lu} and the like, and takes them for \\p{L} or for A-Z: gpt-4o, tekken and their kin;
 - its \\d is 0-9: SuperBPE;
 - its groups of three digits are cut in numbers before a letter, too, and not from the spaces before them: tiny_aya,
   cohere2moe, afmoe;
 - its Han are some blocks: kimi-k2;
 - U+0085 and U+2028 are no white space to it: DeepSeek.
Names whose merges are not of bytes are refused (OTHER_KINDS).
Needs the virtual environment of `make oracles`.
"""
import os
import pickle
import random
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_tokenizer   # noqa: E402
import tok_random       # noqa: E402

NAMES = """a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r dbrx
deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 f2llmv2 falcon
falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling granite-embed-multi-311m
granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code
jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-bpe llama-v3
llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral
poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2
starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking whitespace youtu""".split()
OTHER_KINDS = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"]      # their merges are not of bytes
# Where llama.cpp cuts otherwise than the expression of the Hugging Face tokenizer, or than what is taken for it (youtu,
# afmoe).
HF_DIFFERS = ["gpt-4o", "kanana2", "llama4", "minimax-m2", "talkie", "granite-embed-multi-97m", "tekken", "superbpe",
              "deepseek-coder", "deepseek-llm", "kimi-k2", "youtu", "tiny_aya",
              "cohere2moe", "afmoe"]
WHOLE = ["hello", " hello", "world", " world", "日本語", " ไทย", "1234", "123", "...", "\n\n\n", "don't"]
PLACEHOLDER = "A" * 10


def write_vocabulary(path):
    """The file, and where its pre-tokenizer's name stands in it."""
    import gguf
    rng, shown, n = random.Random(5), {}, 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE:
            shown[byte] = chr(byte)
        else:
            shown[byte] = chr(256 + n)
            n += 1
    pairs = [(a, b) for a in range(256) for b in range(256)]
    rng.shuffle(pairs)
    tokens = [shown[b] for b in range(256)] + [shown[a] + shown[b] for a, b in pairs]
    tokens += ["".join(shown[b] for b in w.encode()) for w in WHOLE]
    control = ["<|endoftext|>", "<s>", "</s>"]
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(PLACEHOLDER)
    w.add_token_list(tokens + control)
    w.add_token_types([1] * len(tokens) + [3] * len(control))
    w.add_token_merges([shown[a] + " " + shown[b] for a, b in pairs])
    w.add_bos_token_id(len(tokens) + 1)
    w.add_eos_token_id(len(tokens) + 2)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    data = open(path, "rb").read()
    return data, data.index(b"tokenizer.ggml.pre") + len("tokenizer.ggml.pre") + 4


def variant(data, at, name, path):
    b = name.encode()
    open(path, "wb").write(data[:at] + struct.pack("<Q", len(b)) + b + data[at + 8 + len(PLACEHOLDER):])


MORE = ["1234567 12345678 123 1234a", "a1234b12345", "hello world hello", "  hello\n\n\n\nworld  \n",
        "don't DON'T It'S we'Ve", "fooBar FooBAR FOOBar fOO", "日本語テスト한국어 漢字かな", "ไทย ภาษา", "हिन्दी हिन्दी",
        "שלום עולם 123", "سلام، دنیا۔", "a/b//c\n/d", "a\tb\t\tc\n\td", "        x        y",
        "(a|b.c,d!e?f…g。h，i、j।k)", "<sentinel:12> x", "IMGIMGABZ IMGIMGABCDEZ", "#include <x>\n#define A 1",
        "1\n2\n3", "word word  word", "12,345,678", "e\u0301e\u0301 a\u0301b", "\u4e00\u4e8c12\u4e09",
        "     \t\t   x", " " * 40 + "y", "\n\n\n" + " " * 9, "x\r\n\r\ny"]


def texts(n=420):
    rng, out = random.Random("pre"), make_tokenizer.CORNERS + MORE
    while len(out) < n:
        s = tok_random.text(rng, [], 10)
        if s and not tok_random.known_difference("", s):
            out.append(s)
    return out


def ask_llama(path, inputs):
    """In a process of its own: names whose merges are not of bytes end it by an assertion."""
    code = ("import pickle,sys,tok_random;p=tok_random.Llama(%r);s=pickle.load(sys.stdin.buffer);"
            "pickle.dump(([p.encode(t,0) for t in s],p.encode('x',1)),open(%r,'wb'))") % (path, path + ".ids")
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(inputs), cwd=HERE, capture_output=True,
                          env={**os.environ, "GGML_NO_BACKTRACE": "1"})
    return pickle.load(open(path + ".ids", "rb")) if done.returncode == 0 else None


def ask_hybrid(path, inputs):
    import tok_lib
    try:
        t = tok_lib.Tokenizer(path)
    except RuntimeError as e:
        return str(e)
    out = [t.encode(s, 0) for s in inputs], t.encode("x", 1)
    tok_lib.LIB.hybrid_tokenizer_destroy(t.handle)
    return out


def main():
    from tokenizers import normalizers
    inputs, lines, leaders, wrong, nfc = texts(), [], {}, 0, normalizers.NFC()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.gguf"
        data, at = write_vocabulary(path)
        for name in NAMES:
            variant(data, at, name, path)
            ours = ask_hybrid(path, inputs)
            if name in OTHER_KINDS or isinstance(ours, str):
                print(f"{name:26} hybrid: {ours if isinstance(ours, str) else 'has it'}")
                wrong += isinstance(ours, str) != (name in OTHER_KINDS)
                continue
            theirs = ask_llama(path, inputs)
            bad = [s for s, a, b in zip(inputs, ours[0], theirs[0]) if a != b and nfc.normalize_str(s) == s]
            if bad or ours[1] != theirs[1]:
                why = " (known)" if name in HF_DIFFERS else ""
                print(f"{name:26} {len(bad)} of {len(inputs)} differ{why}: {bad[:2]}")
            wrong += (bool(bad) and name not in HF_DIFFERS) or ours[1] != theirs[1]
            leader = leaders.setdefault(repr(theirs[0]), name)
            ignores = theirs[0][inputs.index("hello world hello")][0] == 256 + 65536
            lines.append(f"{name}\t{leader}\t{int(ignores)}\t{int(len(theirs[1]) > 1)}\n")
    print(f"{len(NAMES)} names, {len(lines)} of them in hybrid; {wrong} differ that should not")
    if "--write" in sys.argv[1:]:
        open("tests/oracle/data/tok_pre.txt", "w", encoding="utf-8").writelines(lines)


if __name__ == "__main__":
    main()
