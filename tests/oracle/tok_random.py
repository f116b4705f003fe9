#!/usr/bin/env python3
"""Random texts, and other implementations to ask about them.

    python3 tests/oracle/tok_random.py [texts per vocabulary = 2000] [seed]

compares hybrid on thousands of random Unicode strings with: HF tokenizers' regular expression engine (the cuts of every
pre-tokenizer), llama.cpp (ids with all flags, end tokens, detokenizing) and tiktoken. Prints what differs.
"""
import base64
import ctypes
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
DATA = os.environ.get("HYBRID_DATA", "../shared/data")
MODELS = os.environ.get("HYBRID_MODELS", "models")
VOCABS = ["gpt-2", "qwen2", "falcon", "deepseek-coder", "llama-spm", "phi-3"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
TEKKEN = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
# Each list as llama.cpp applies it: every expression cuts the pieces that the one before has left.
REGEX = {
    "gpt-2": [GPT2],
    "llama-bpe": [CL100K],
    "cl100k": [CL100K],
    "qwen2": [CL100K.replace("{1,3}", "")],
    "qwen35": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| "
               r"?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "gpt-4o": [O200K],
    "tekken": [TEKKEN],
    "starcoder": [r"\p{N}", GPT2],
    "smollm": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
    "deepseek-llm": [r"[\r\n]", None, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
                     "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}+"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""],
}

REGEX["minicpm5"] = [r"\p{N}{1,3}", CL100K.replace("{1,3}", "+")]
REGEX["seed-coder"] = [CL100K.replace("{1,3}", "").replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")]
REGEX["ufakzeka"] = [CL100K.replace("{1,3}", "").replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)|", "")]
REGEX["laguna"] = [r"[^\n]+|[\n]+", CL100K.replace("{1,3}", "")]
REGEX["jais-2"] = [CL100K[:-len(r"|\s+(?!\S)|\s+")] + "".join(r"|\s{%d}(?!\S)" % 2 ** k for k in range(9, 1, -1)) +
                   r"|\s{1,2}(?!\S)|\s{1}"]
REGEX["bloom"] = [r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"]
REGEX["viking"] = REGEX["bloom"] + [r"\p{N}"]
REGEX["superbpe"] = [r"\p{N}+", r"(?=(\d{3})+(?!\d))"]
REGEX["exaone-moe"] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| "
    r"?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"]
REGEX["spark2_5"] = [r"\p{N}", REGEX["deepseek-v3"][1],
                     REGEX["deepseek-v3"][2].replace(r"[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+", r"[\p{P}\p{S}]+|[\r\n]")]
REGEX["chameleon"] = ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
                      r"[\p{P}!-/:-@\[-`{-~]", GPT2[:-len(r"|\s+")]]
REGEX["kimi-k2"] = [r"[\p{Han}]+|" + O200K.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace(r"[\r\n/]*", r"[\r\n]*")]
REGEX["youtu"] = [
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|"
                  "[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", O200K.replace("{1,3}", "")]
REGEX["tiny_aya"] = [r"\d{1,3}(?=(?:\d{3})*\b)", O200K]
REGEX["afmoe"] = [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
                  "[\u4e00-\ud7af\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0eff"
                  "\u1780-\u17ff\u1000-\u109f\u1100-\u11ff]+",
                  REGEX["deepseek-v3"][2]]


def deepseek_letters():
    """The class as make_unicode.py has it (that script cannot be imported: it works at import)."""
    source = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_unicode.py"), encoding="utf-8").read()
    ends = [r.split("-") for r in source.split('DEEPSEEK = """')[1].split('"""')[0].split()]
    return r"\s?[" + "".join(chr(int(r[0], 16)) + "-" + chr(int(r[-1], 16)) for r in ends) + "]+"


REGEX["deepseek-llm"][1] = deepseek_letters()


def regex_split(pre, text):
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Sequence, Split
    if pre not in regex_split.cache:
        regex_split.cache[pre] = Sequence([Split(Regex(x), "isolated") for x in REGEX[pre]])
    return [word for word, _ in regex_split.cache[pre].pre_tokenize_str(text)]


regex_split.cache = {}

SAMPLES = ["Hello", "world", " the", "don't", "I'LL", "'s", "'RE", "'ſ", "it's", "3", "33", "3333", "१२३", "½", "Ⅷ",
           "日本語", "漢字", "かな", "カナー", "한국어",
           "ñandú", "straße", "İstanbul", "ǅ", "ʰʲ", "e\u0301", "\u0301", "नमस्ते", "ไทย", "🚀", "👩‍👩‍👧", "🇩🇪",
           "\u200d", "\ufe0f", "()", "...", "!!", "==", "`", "``", "~|",
           "€", "«»", "—", "\u3000", "\u00a0", "\u2028", "\u0085", "\x00", "\x1c", "\x7f", "\ufeff", "\ufffd",
           "\U000E0001", "\U0001D400", "\U00020000", "ᾳ", "Ა", "ა",
           "camelCase", "HTMLParser", "snake_case", "http://a.b/c?d=e", "<s>", "</s>", "<unk>", "<|endoftext|>",
           "<0x0A>", "▁", "▁▁", "a▁b", "\r\n", "/", "//\n"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\n ", "        ", "\t\t\t"]


def text(rng, specials, longest):
    """A random text of a few to longest parts."""
    out = []
    for _ in range(rng.randrange(longest)):
        k = rng.random()
        if k < 0.3:
            out.append(rng.choice(SPACES))
        elif k < 0.7:
            out.append(rng.choice(SAMPLES))
        elif k < 0.75 and specials:
            out.append(rng.choice(specials))
        elif k < 0.88:
            out.append("".join(chr(rng.randrange(32, 127)) for _ in range(rng.randrange(1, 8))))
        else:
            high = rng.choice([0x180, 0x700, 0x3100, 0xD800, 0x30000])
            points = [rng.randrange(1, high) for _ in range(rng.randrange(1, 5))]
            out.append("".join(chr(c) for c in points if not 0xD800 <= c < 0xE000))
    return "".join(out)


def known_difference(vocab, s):
    """Where llama.cpp departs from HF and tiktoken, and hybrid follows those:
    - it has no (?i:...) and leaves out that s folds to U+017F;
    - its tables are of another version of Unicode;
    - it does not normalize (Qwen)."""
    import unicodedata
    if vocab in ("qwen2",):
        from tokenizers import normalizers
        if normalizers.NFC().normalize_str(s) != s:
            return True
    return "'\u017f" in s or any(unicodedata.category(c) == "Cn" for c in s)


class Llama:
    """llama.cpp's tokenizer of a GGUF file."""

    def __init__(self, path):
        import llama_cpp as L
        self.L = L
        if not Llama.quiet:
            Llama.quiet = L.llama_log_callback(lambda level, message, user: None)
            L.llama_log_set(Llama.quiet, ctypes.c_void_p(0))
        params = L.llama_model_default_params()
        params.vocab_only = True
        self.model = L.llama_model_load_from_file(os.fsencode(path), params)
        self.vocab = L.llama_model_get_vocab(self.model)
        self.size = L.llama_vocab_n_tokens(self.vocab)
        control = L.LLAMA_TOKEN_ATTR_CONTROL | L.LLAMA_TOKEN_ATTR_USER_DEFINED | L.LLAMA_TOKEN_ATTR_UNKNOWN
        self.specials = [L.llama_vocab_get_text(self.vocab, i).decode(errors="replace") for i in range(self.size)
                         if L.llama_vocab_get_attr(self.vocab, i) & control][:400]

    quiet = None

    def encode(self, s, flags):
        b = s.encode() if isinstance(s, str) else s
        ids = (self.L.llama_token * (3 * len(b) + 8))()
        n = self.L.llama_tokenize(self.vocab, b, len(b), ids, len(ids), bool(flags & 1), bool(flags & 2))
        assert n >= 0
        return ids[:n]

    def decode(self, ids):
        a = (self.L.llama_token * len(ids))(*ids)
        out = ctypes.create_string_buffer(64 * len(ids) + 64)
        n = self.L.llama_detokenize(self.vocab, a, len(ids), out, len(out), False, True)
        return out.raw[:n]

    def is_end(self, i):
        return self.L.llama_vocab_is_eog(self.vocab, i)


def compare_splits(n, seed):
    import tok_lib
    for pre in REGEX:
        rng, bad = random.Random(f"{seed} {pre}"), 0
        for _ in range(n):
            s = text(rng, [], 12)
            ours, theirs = tok_lib.split(pre, s), [w.encode() for w in regex_split(pre, s)]
            if ours != theirs:
                bad += 1
                if bad < 4:
                    print("   ", repr(s), ours, theirs, sep="\n      ")
        print(f"split  {pre:16} {n} texts, {bad} differ")


def compare_llama(n, seed):
    import tok_lib
    paths = [(v, f"{DATA}/vocab/ggml-vocab-{v}.gguf") for v in VOCABS]
    paths += [(m, f"{MODELS}/{m}") for m in ("SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf")
              if os.path.exists(f"{MODELS}/{m}")]
    paths += [("stories260K", f"{DATA}/models/stories260K/stories260K.gguf")]
    for name, path in paths:
        ours, peer, rng = tok_lib.Tokenizer(path), Llama(path), random.Random(f"{seed} {name}")
        bad = skipped = bad_text = 0
        for _ in range(n):
            s, flags = text(rng, peer.specials, 14), rng.randrange(4)
            if known_difference(name, s):
                skipped += 1
                continue
            a, b = ours.encode(s, flags), peer.encode(s, flags)
            if a != b:
                bad += 1
                if bad < 4:
                    print("   ", flags, repr(s), a, b, sep="\n      ")
            elif b and ours.decode(b, 1) != peer.decode(b):
                bad_text += 1
                if bad_text < 3:
                    print("    decode", b, repr(ours.decode(b, 1)), repr(peer.decode(b)))
        ends = [i for i in range(peer.size) if ours.is_end(i) != peer.is_end(i)]
        print(f"llama  {name:16} {n - skipped} texts, {bad} differ; detokenized: {bad_text} differ; end tokens: "
              f"{len(ends)} differ {ends[:5]}")


def tiktoken_encoding(name, pattern):
    import tiktoken
    ranks = {base64.b64decode(a): int(b) for a,
             b in (line.split() for line in open(f"{DATA}/tokenizer/tiktoken/{name}.tiktoken"))}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def compare_tiktoken(n, seed):
    import tok_lib
    for name, pre, pattern in (("r50k_base", "r50k", GPT2), ("cl100k_base", "cl100k", CL100K),
                               ("o200k_base", "o200k", O200K)):
        peer, rng = tiktoken_encoding(name, pattern), random.Random(f"{seed} {name}")
        ours, bad = tok_lib.Tokenizer(ranks=peer._mergeable_ranks, pre=pre), 0
        for _ in range(n):
            s = text(rng, [], 14)
            a, b = ours.encode(s), peer.encode_ordinary(s)
            bad += a != b or ours.decode(a) != s.encode()
            if a != b and bad < 4:
                print("   ", repr(s), a, b, sep="\n      ")
        print(f"tiktoken {name:14} {n} texts, {bad} differ")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    which = sys.argv[2] if len(sys.argv) > 2 else "1"
    compare_splits(count, which)
    compare_llama(count, which)
    compare_tiktoken(count, which)
