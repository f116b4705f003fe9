#!/usr/bin/env python3
"""Speed of hybrid_bpe_train beside HF tokenizers' BpeTrainer: one process, one thread, the same texts, in turns; the
best round of each counts. Checks that both make the same merges. Prints a table.

    HYBRID_DATA=../shared/data python3 tests/bench/bench_bpe.py [rounds = 3]

Needs the virtual environment of `make bench`.
"""
import ctypes as C
import os
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import tok_lib                                                                  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, trainers, __version__  # noqa: E402

LIB = tok_lib.LIB
WRITE = C.CFUNCTYPE(C.c_bool, C.c_void_p, C.c_void_p, C.c_size_t)


class Reader(C.Structure):
    _fields_ = [("read_at", C.c_void_p), ("close", C.c_void_p), ("size", C.c_uint64), ("user", C.c_void_p)]


class Source(C.Structure):
    _fields_ = [("path", C.c_char_p), ("data", C.c_char_p), ("size", C.c_size_t), ("reader", Reader),
                ("parts", C.c_void_p), ("n_parts", C.c_size_t)]


class Desc(C.Structure):
    _fields_ = [("texts", C.POINTER(Source)), ("n_texts", C.c_size_t), ("vocab_size", C.c_int32),
                ("specials", C.c_void_p), ("n_specials", C.c_size_t), ("bos", C.c_char_p), ("eos", C.c_char_p),
                ("add_bos", C.c_bool), ("pre", C.c_char_p), ("min_frequency", C.c_uint64),
                ("max_token_bytes", C.c_size_t), ("ties", C.c_int), ("max_bytes", C.c_uint64),
                ("progress", C.c_void_p), ("user", C.c_void_p)]


def ours(text, size):
    source, desc, tok, out = Source(), Desc(), C.c_void_p(), []
    source.data, source.size = text, len(text)
    desc.texts, desc.n_texts, desc.vocab_size, desc.ties = C.pointer(source), 1, size, 1
    start = time.perf_counter()
    assert LIB.hybrid_bpe_train(None, C.byref(desc), C.byref(tok), None, None) == 0
    seconds = time.perf_counter() - start

    @WRITE
    def write(_, data, n):
        out.append(C.string_at(data, n))
        return True
    assert LIB.hybrid_tokenizer_write(tok, 0, write, None, None) == 0
    LIB.hybrid_tokenizer_destroy(tok)
    return seconds, b"".join(out).split(b"\n")[1:]


def theirs(text, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = [text.decode()]
    start = time.perf_counter()
    t.train_from_iterator(texts, trainer)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        t.model.save(folder)
        return seconds, open(folder + "/merges.txt", "rb").read().split(b"\n")[1:]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"hybrid_bpe_train beside HF tokenizers {__version__}, seconds, one thread, best of {rounds}\n")
    print("| text | vocabulary | ours | HF | ratio |\n|---|---|---|---|---|")
    for name in ("tinyshakespeare", "war-and-peace", "wikitext-2-test", "wikitext-2-valid"):
        text = open(f"{tok_lib.DATA}/corpus/{name}.txt", "rb").read()
        for size in (500, 4096, 16384):
            best = [1e9, 1e9]
            for _ in range(rounds):
                made = [ours(text, size), theirs(text, size)]
                assert made[0][1] == made[1][1], "the merges differ"
                best = [min(b, m[0]) for b, m in zip(best, made)]
            print(f"| {name} | {size} | {best[0]:.3f} | {best[1]:.3f} | **{best[1] / best[0]:.1f}** |", flush=True)


main()
