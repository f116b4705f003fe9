#!/usr/bin/env python3
"""Speed of the tokenizers beside HF tokenizers, tiktoken and llama.cpp: one process, one thread, the same texts, rounds
taken in turns, the best round of each counts. Prints MB/s of processor time, the ratio to the fastest of the others,
and load times.

    HYBRID_DATA=../shared/data python3 tests/bench_tokenizer.py [rounds = 5]

Needs the virtual environment of `make bench` (tokenizers, tiktoken, gguf, llama-cpp-python).
"""
import ctypes as C
import os
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import tok_lib      # noqa: E402
import tok_random   # noqa: E402

DATA = tok_lib.DATA
# tiktoken 0.14's own spelling of the patterns, which its engine runs faster.
R50K = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
CL100K = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
TEXTS = ["war-and-peace", "tinyshakespeare", "wikitext-2-test"]
PATHS = {v: f"{DATA}/vocab/ggml-vocab-{v}.gguf" for v in ("gpt-2", "qwen2", "llama-spm")}


class Ours:
    def __init__(self, handle):
        self.handle = handle

    def prepare(self, text):
        self.text, self.n = text.encode(), C.c_size_t()
        self.ids = (C.c_int32 * (len(self.text) + 8))()

    def run(self):
        r = tok_lib.LIB.hybrid_tokenize(self.handle, self.text, len(self.text), 0, self.ids, len(self.ids),
                                        C.byref(self.n), None)
        assert r == 0
        return self.n.value

    def result(self):
        return self.ids[:self.n.value]


class Llama:
    def __init__(self, path):
        self.peer = tok_random.Llama(path)

    def prepare(self, text):
        self.text = text.encode()
        self.ids = (self.peer.L.llama_token * (len(self.text) + 8))()

    def run(self):
        self.n = self.peer.L.llama_tokenize(self.peer.vocab, self.text, len(self.text), self.ids, len(self.ids), False,
                                            False)
        return self.n

    def result(self):
        return self.ids[:self.n]


class Tiktoken:
    def __init__(self, encoding):
        self.encoding = encoding

    def prepare(self, text):
        self.text = text

    def run(self):
        self.ids = self.encoding.encode_ordinary(self.text)
        return len(self.ids)

    def result(self):
        return self.ids


class HF:
    """The whole text at once, or line by line, whichever is faster (its cost grows with the length of a text)."""

    def __init__(self, tokenizer, lines):
        self.tokenizer, self.lines = tokenizer, lines

    def prepare(self, text):
        self.text, self.parts = text, text.splitlines(keepends=True)

    def run(self):
        if self.lines:
            self.ids = [i for e in self.tokenizer.encode_batch(self.parts, add_special_tokens=False) for i in e.ids]
        else:
            self.ids = self.tokenizer.encode(self.text, add_special_tokens=False).ids
        return len(self.ids)

    def result(self):
        return self.ids


def hf_tokenizer(name):
    from gguf import GGUFReader
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    fields = GGUFReader(PATHS[name]).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    vocab = {t: i for i, t in enumerate(tokens)}
    if name == "llama-spm":
        scores = fields["tokenizer.ggml.scores"].contents()
        merges = []
        for t in tokens[259:]:
            local = [(t[:k], t[k:]) for k in range(1, len(t)) if t[:k] in vocab and t[k:] in vocab]
            merges += [(scores[vocab[t]], m) for m in sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]]))]
        merges.sort(key=lambda m: -m[0])
        tok = Tokenizer(models.BPE(vocab, [m for _, m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        return tok
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE(vocab, merges))
    if name == "gpt-2":
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(tok_random.REGEX[name][0]), "isolated"),
                                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tok


def race(name, peers, text, rounds):
    best, size = {}, len(text.encode())
    for peer in peers.values():
        peer.prepare(text)
    for _ in range(rounds):
        for key, peer in peers.items():
            begin = time.process_time()
            peer.run()
            best[key] = min(best.get(key, 1e9), time.process_time() - begin)
    ids = peers["hybrid"].result()
    differ = [key for key, peer in peers.items() if peer.result() != ids and "lines" not in key]
    others = min(t for key, t in best.items() if key != "hybrid")
    row = "  ".join(f"{key} {size / t / 1e6:7.1f}" for key, t in best.items())
    print(f"{name}  {row}   = {others / best['hybrid']:5.1f} x the fastest" +
          (f"   other tokens: {differ}" if differ else ""), flush=True)


def load_times(rounds):
    for name, path in {**PATHS, "gemma3": f"{tok_random.MODELS}/gemma-3-270m-q4_k_m.gguf"}.items():
        if not os.path.exists(path):
            continue
        message, best = C.create_string_buffer(256), [1e9, 1e9]
        for _ in range(rounds):
            begin = time.process_time()
            handle = tok_lib.LIB.tok_open(os.fsencode(path), message)
            best[0] = min(best[0], time.process_time() - begin)
            tok_lib.LIB.hybrid_tokenizer_destroy(handle)
            begin = time.process_time()
            peer = tok_random.Llama(path)
            best[1] = min(best[1], time.process_time() - begin)
            peer.L.llama_model_free(peer.model)
        print(f"load {name:10} hybrid {best[0] * 1e3:6.1f} ms   llama.cpp {best[1] * 1e3:6.1f} ms   "
              f"= {best[0] / best[1]:.3f}", flush=True)


if __name__ == "__main__":
    import llama_cpp
    import tiktoken
    import tokenizers
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"MB/s, best of {count}; tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}, "
          f"llama-cpp-python {llama_cpp.__version__}")
    load_times(count)
    encodings = {"r50k": tok_random.tiktoken_encoding("r50k_base", R50K),
                 "cl100k": tok_random.tiktoken_encoding("cl100k_base", CL100K),
                 "o200k": tok_random.tiktoken_encoding("o200k_base", tok_random.O200K)}
    message = C.create_string_buffer(256)
    for vocab in ("gpt-2", "qwen2", "llama-spm", "cl100k", "o200k"):
        if vocab in PATHS:
            hf = hf_tokenizer(vocab)
            peers = {"hybrid": Ours(tok_lib.LIB.tok_open(os.fsencode(PATHS[vocab]), message)), "hf": HF(hf, False),
                     "hf-lines": HF(hf, True), "llama.cpp": Llama(PATHS[vocab])}
            if vocab == "gpt-2":
                peers["tiktoken"] = Tiktoken(encodings["r50k"])
        else:
            peers = {"hybrid": Ours(tok_lib.Tokenizer(ranks=encodings[vocab]._mergeable_ranks, pre=vocab).handle),
                     "tiktoken": Tiktoken(encodings[vocab])}
        for t in TEXTS:
            race(f"{vocab:9} {t:16}", peers, open(f"{DATA}/corpus/{t}.txt", encoding="utf-8", newline="").read(), count)
