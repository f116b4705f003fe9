#!/usr/bin/env python3
"""Compares the classes of all 1.1 million code points with those of HF tokenizers' regular expressions and of
tiktoken's, and the end tokens that llama.cpp decides on, name by name. Prints what differs. Needs the virtual
environment of `make oracles`.
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tok_lib      # noqa: E402
import tok_random   # noqa: E402

CLASSES = {r"\p{Lu}": {1}, r"\p{Lt}": {2}, r"\p{Ll}": {3}, r"\p{Lm}": {4}, r"\p{Lo}": {5}, r"\p{M}": {6},
           r"\p{N}": {7}, r"\p{P}": {8}, r"\p{S}": {9},
           r"\s": {10, 11}, r"[\r\n]": {11}, r"\p{L}": {1, 2, 3, 4, 5}}


def compare_classes():
    import tiktoken
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    ours = {c: tok_lib.LIB.tok_class(c) for c in points}
    bytes_only = {bytes([i]): i for i in range(256)}
    for pattern, numbers in CLASSES.items():
        mine = {c for c in points if ours[c] in numbers}
        split, left = Split(Regex(pattern), "removed"), set()
        for i in range(0, len(points), 4096):
            for piece, _ in split.pre_tokenize_str("".join(map(chr, points[i:i + 4096]))):
                left |= {ord(c) for c in piece}
        hf = set(points) - left
        encoding = tiktoken.Encoding("classes", pat_str=pattern, mergeable_ranks=bytes_only, special_tokens={})
        tik = {c for c in points if encoding.encode_ordinary(chr(c))}
        print(f"{pattern:8} {len(mine):7} code points; HF differs in {len(mine ^ hf)}, tiktoken in {len(mine ^ tik)}")


NAMES = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
         "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]",
         "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|fim_pad|>", "<|fim_repo|>",
         "<|repo_name|>", "<|file_sep|>", "<fim_pad>", "<PAD>", "<reponame>", "<REPO>",
         "<|fim_prefix|>", "<|im_start|>", "<s>", "<pad>", "<bos>", "<unk>", "<|EOT|>", "<|end_of_turn|>",
         "<|endofturn|>", "<EOS>", "<|eos|>", "<|eot|>", "[END]", "<end>",
         "<fim-pad>", "<fim-repo>", "<|fim_sep|>", "<|turn|>", "<|message|>"]


def compare_ends(rounds=60):
    """Vocabularies with some of the names, in a file that llama.cpp and hybrid load. Where several tokens could have a
    role, llama.cpp takes the first of a hash table; so of those that are an end only by their role, one at a time is
    used."""
    only_by_role = [["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"],
                    ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]]
    import random
    import gguf
    rng, bad = random.Random(1), 0
    base = [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]
    with tempfile.TemporaryDirectory() as folder:
        for k in range(rounds):
            if k == 0:
                chosen = NAMES
            elif k == 1:
                chosen = [n for n in NAMES if n not in ("<|return|>", "<|flush|>")]
            else:
                chosen = rng.sample(NAMES, rng.randrange(1, 12))
            for group in only_by_role:
                keep = rng.choice(group)
                chosen = [n for n in chosen if n == keep or n not in group]
            chosen = ["<\uff5cend\u2581of\u2581sentence\uff5c>"] if k == 2 else chosen
            path = f"{folder}/{k}.gguf"
            w = gguf.GGUFWriter(path, "llama")
            w.add_tokenizer_model("gpt2")
            w.add_tokenizer_pre("gpt-2")
            w.add_token_list(base + chosen)
            w.add_token_types([1] * len(base) + [rng.choice([1, 3, 3, 4]) for _ in chosen])
            w.add_token_merges(["a b"])
            w.add_eos_token_id(0)
            w.write_header_to_file()
            w.write_kv_data_to_file()
            w.close()
            ours, peer = tok_lib.Tokenizer(path), tok_random.Llama(path)
            for i, name in enumerate(base + chosen):
                if ours.is_end(i) != peer.is_end(i):
                    bad += 1
                    if bad < 30:
                        print("   ", k, repr(name), "hybrid:", ours.is_end(i), "llama.cpp:", peer.is_end(i))
    print(f"end tokens: {rounds} vocabularies, {bad} differ")


if __name__ == "__main__":
    compare_ends()
    compare_classes()
