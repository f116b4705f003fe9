"""hybrid's tokenizer for Python: compiles tests/oracle/tok_lib.c and wraps it. Used by the other tok_*.py."""
import ctypes as C
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("HYBRID_DATA", os.path.join(HERE, "../../../shared/data"))
ADD_SPECIAL, PARSE_SPECIAL = 1, 2


def load():
    path = os.path.join(tempfile.mkdtemp(prefix="hybrid-tok-"), "tok.so")
    subprocess.check_call(["cc", "-O2", "-DHYBRID_NO_SIMD", "-g", "-shared", "-fPIC", os.path.join(HERE, "tok_lib.c"),
                           "-o", path, "-lm"])
    lib = C.CDLL(path)
    lib.tok_open.restype = C.c_void_p
    lib.tok_split.restype = C.c_size_t
    lib.tok_split.argtypes = [C.c_char_p, C.c_char_p, C.c_size_t, C.c_void_p]
    lib.hybrid_tokenize.argtypes = [C.c_void_p, C.c_char_p, C.c_size_t, C.c_uint, C.c_void_p, C.c_size_t, C.c_void_p,
                                    C.c_void_p]
    lib.hybrid_detokenize.argtypes = [C.c_void_p, C.c_void_p, C.c_size_t, C.c_uint, C.c_char_p, C.c_size_t, C.c_void_p,
                                      C.c_void_p]
    lib.hybrid_vocab_size.argtypes = lib.hybrid_tokenizer_destroy.argtypes = [C.c_void_p]
    lib.hybrid_vocab_size.restype = C.c_int32
    lib.hybrid_token_is_end.argtypes = lib.hybrid_token_kind.argtypes = [C.c_void_p, C.c_int32]
    lib.hybrid_token_is_end.restype = C.c_bool
    lib.hybrid_token_role_id.argtypes = [C.c_void_p, C.c_int]
    return lib


LIB = load()


def split(pre, text):
    """The words of a text, as bytes."""
    b = text.encode() if isinstance(text, str) else text
    ends = (C.c_uint32 * (len(b) + 1))()
    n = LIB.tok_split(pre.encode(), b, len(b), ends)
    if n == C.c_size_t(-1).value:
        raise KeyError(pre)
    at = [0] + [ends[i] for i in range(n)]
    return [b[x:y] for x, y in zip(at, at[1:])]


class String(C.Structure):
    _fields_ = [("data", C.c_char_p), ("size", C.c_size_t)]


class Desc(C.Structure):
    """hybrid_tokenizer_desc"""
    _fields_ = [("model", C.c_char_p), ("pre", C.c_char_p), ("tokens", C.POINTER(String)), ("n_tokens", C.c_size_t),
                ("types", C.c_void_p), ("scores", C.c_void_p),
                ("merges", C.c_void_p), ("n_merges", C.c_size_t), ("raw_tokens", C.c_bool), ("add_bos", C.c_bool),
                ("add_eos", C.c_bool), ("no_space_prefix", C.c_bool),
                ("strip_right", C.c_bool), ("roles", C.c_char_p * 14)]


class Tokenizer:
    """Of a GGUF file, or of the ranks of a tiktoken encoding."""

    def __init__(self, path=None, ranks=None, pre=None):
        if path:
            message = C.create_string_buffer(256)
            self.handle = LIB.tok_open(os.fsencode(path), message)
            if not self.handle:
                raise RuntimeError(message.value.decode())
            return
        tokens, handle = (String * (max(ranks.values()) + 1))(), C.c_void_p()
        for b, i in ranks.items():
            tokens[i].data, tokens[i].size = b, len(b)
        desc = Desc(pre=pre.encode(), tokens=tokens, n_tokens=len(tokens), raw_tokens=True)
        if LIB.hybrid_tokenizer_create(None, C.byref(desc), C.byref(handle), None):
            raise RuntimeError("hybrid_tokenizer_create")
        self.handle = handle.value

    def encode(self, text, flags=0):
        b = text.encode() if isinstance(text, str) else text
        ids, n = (C.c_int32 * (3 * len(b) + 3))(), C.c_size_t()
        r = LIB.hybrid_tokenize(self.handle, b, len(b), flags, ids, len(ids), C.byref(n), None)
        assert r == 0, r
        return ids[:n.value]

    def decode(self, ids, flags=0):
        a, n = (C.c_int32 * len(ids))(*ids), C.c_size_t()
        LIB.hybrid_detokenize(self.handle, a, len(ids), flags, None, 0, C.byref(n), None)
        out = C.create_string_buffer(n.value + 1)
        assert LIB.hybrid_detokenize(self.handle, a, len(ids), flags, out, n.value, C.byref(n), None) == 0
        return out.raw[:n.value]

    def size(self):
        return LIB.hybrid_vocab_size(self.handle)

    def is_end(self, i):
        return LIB.hybrid_token_is_end(self.handle, i)

    def kind(self, i):
        return LIB.hybrid_token_kind(self.handle, i)

    def role(self, i):
        return LIB.hybrid_token_role_id(self.handle, i)
