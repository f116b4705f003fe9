"""Tiny tokenizers for the reference models: 128 tokens that cover printable ASCII, as the tokenizer.* keys of a GGUF
file.

They have the form that llama.cpp's converter gives to the real ones; only the vocabulary is small.
"""
N_VOCAB = 128
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
PRINTABLE = [chr(c) for c in range(33, 127)]
PAIRS = "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le me de ro ri".split()


def bpe(writer, pre, control, bos=None, eos=None, add_bos=None):
    """Byte-level BPE. Bytes outside of printable ASCII, space and newline have no token: allowed, and a test by
    itself."""
    tokens = PRINTABLE + ["\u0120", "\u010a"]          # the stand-ins for space and newline
    merges = []
    for pair in PAIRS:
        if len(tokens) + len(control) < N_VOCAB:
            tokens.append(pair)
            merges.append(pair[0] + " " + pair[1])
    types = [NORMAL] * len(tokens) + [CONTROL] * len(control)
    tokens = tokens + control
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    _special(writer, tokens, bos, eos, add_bos)


def spm(writer, head, tail=(), bos="<s>", eos="</s>", add_bos=True, space_prefix=None):
    """SentencePiece BPE without byte pieces. head, tail: (token, type) lists before and after the pieces."""
    tokens = [t for t, _ in head] + ["\u2581"] + PRINTABLE
    types = [k for _, k in head] + [NORMAL] * (1 + len(PRINTABLE))
    for pair in ["\u2581t", "\u2581a"] + PAIRS:
        if len(tokens) + len(tail) < N_VOCAB:
            tokens.append(pair)
            types.append(NORMAL)
    tokens += [t for t, _ in tail]
    types += [k for _, k in tail]
    # SentencePiece: the earlier a merge was learned, the higher its score; single characters are never the result of a
    # merge
    n_single = len(head) + 1 + len(PRINTABLE)
    scores = [0.0 if i < len(head) or types[i] != NORMAL else -1000.0 - i if i < n_single else float(n_single - i)
              for i in range(len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    _special(writer, tokens, bos, eos, add_bos)


def rwkv(writer, tokens, bos=None, eos=None):
    """RWKV's vocabulary: strings of bytes, as llama.cpp's converter spells them (what repr() has between its quotes),
    after "<s>"."""
    special = ["<s>"] if bos is not None else []
    tokens = special + [repr(t)[2:-1] for t in tokens]
    pads = ["[PAD%d]" % i for i in range(len(tokens), N_VOCAB)]
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(tokens + pads)
    writer.add_token_types([CONTROL] * len(special) + [NORMAL] * (len(tokens) - len(special)) + [UNUSED] * len(pads))
    _special(writer, tokens, bos, eos, None)


def wordpiece(writer):
    """BERT's, in llama.cpp's form: what begins a word has U+2581 before it, what goes on in it has lost its "##"."""
    head = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    lower = [c for c in PRINTABLE if not c.isupper()]
    tokens = head + ["\u2581" + c for c in lower] + [c for c in lower if c.isalpha()]
    tokens += ["\u2581" + p for p in PAIRS] + PAIRS
    tokens = tokens[:N_VOCAB]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([UNKNOWN if t == "[UNK]" else CONTROL if t in head else NORMAL for t in tokens])
    writer.add_token_type_count(2)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_mask_token_id(4)
    writer.add_uint32("tokenizer.ggml.cls_token_id", 2)


def _special(writer, tokens, bos, eos, add_bos):
    if bos is not None:
        writer.add_bos_token_id(tokens.index(bos))
    if eos is not None:
        writer.add_eos_token_id(tokens.index(eos))
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)


LLAMA = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
# Not all bytes, as with the others; tokens that begin with one another, halves of characters, and two that need quotes
# of either kind.
RWKV = [b"\0", b"\t", b"\n", b"\r", b" "] + [t.encode() for t in PRINTABLE] + [
    b"th", b"the", b" the", b" th", b"in", b"ing", b"an", b"and", b"\n\n", b"  ", b"    ", b"\xc3", b"\xa9",
    b"\xc3\xa9", b"\xe4\xb8", b"'\"", b"\\n",
    b"\xff", b"\x7f\x80"]
GEMMA = [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", UNKNOWN)]

TOKENIZERS = {
    "gpt2": lambda w: bpe(w, "gpt-2", ["<|endoftext|>"], "<|endoftext|>", "<|endoftext|>"),
    "llama2": lambda w: spm(w, LLAMA),
    "llama3": lambda w: bpe(w, "llama-bpe", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
                            "<|begin_of_text|>", "<|eot_id|>", True),
    "smollm": lambda w: bpe(w, "smollm", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|im_start|>", "<|im_end|>",
                            False),
    "qwen2": lambda w: bpe(w, "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", "<|im_end|>",
                           False),
    "lfm2": lambda w: bpe(w, "lfm2", ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                          "<|startoftext|>", "<|im_end|>", True),
    "gemma": lambda w: spm(w, GEMMA, [("<start_of_turn>", CONTROL), ("<end_of_turn>", CONTROL)], "<bos>", "<eos>",
                           True, False),
    "rwkv": lambda w: rwkv(w, RWKV, "<s>", "<s>"),
    "rwkv-bytes": lambda w: rwkv(w, [bytes([b]) for b in range(256)]),
    "bert": wordpiece,
    "phi3": lambda w: spm(w, LLAMA, [("<|endoftext|>", CONTROL), ("<|assistant|>", CONTROL), ("<|end|>", CONTROL),
                                     ("<|user|>", CONTROL)],
                          "<s>", "<|endoftext|>", False),
}
