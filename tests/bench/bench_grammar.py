#!/usr/bin/env python3
"""bench_grammar: how long masks of grammars take, beside llguidance and llama.cpp's grammar, on the same vocabulary and
texts.

    make bench-grammar                  ARGS='--rounds 5 --vocab FILE.gguf'

A text that fits is followed token by token; before each, all tokens that may come are found. Ours: hybrid_matcher_mask
over all tokens, on a new matcher, and on one that has seen the text before (its masks are kept). llguidance:
unsafe_compute_mask_ptr of LLMatcher, a new one, and the same after reset(), with its usual slices; compiling is making
the LLMatcher (that GBNF becomes its own notation before is not counted, as Python does that). llama.cpp:
llama_sampler_apply of llama_sampler_init_grammar over candidates for all tokens, which is what it does when no token
was drawn beforehand. Rounds alternate; numbers are medians of the rounds, times in microseconds,
compiling in milliseconds. A peer that is not there is left out, and "-" is a grammar that a peer does not take, or text
that it does not allow.
The vocabulary is Qwen2's, 151,936 tokens, of ../shared/data/vocab. Needs the environment of tests/venv.py.
"""
import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
VOCAB = os.path.join(os.environ.get("HYBRID_DATA", os.path.join(ROOT, "..", "shared", "data")), "vocab",
                     "ggml-vocab-qwen2.gguf")
PROGRAM = os.path.join(ROOT, "build", "bench_grammar")
VILLAGER = {"type": "object", "properties": {
    "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,11}$"}, "trade": {"enum": ["smith", "baker", "healer"]},
    "age": {"type": "integer", "minimum": 16, "maximum": 90},
    "sells": {"type": "array", "items": {"type": "string", "pattern": "^[a-z ]{3,16}$"}, "maxItems": 3}},
    "required": ["name", "trade", "age", "sells"], "additionalProperties": False}
FREE = {"type": "object", "properties": {"title": {"type": "string"}, "tags": {"type": "array", "items": {
    "type": "string"}}, "score": {"type": "number"}}, "required": ["title", "tags", "score"],
    "additionalProperties": False}
TREE = {"$defs": {"node": {"type": "object", "properties": {
    "value": {"type": "integer"}, "next": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["value", "next"], "additionalProperties": False}}, "$ref": "#/$defs/node"}
JSON_GBNF = r'''root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,3})?
ws ::= [ \n]{0,20}
'''
BOUNDED = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 250}}, "required": ["text"]}
NOTES = {"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 30}, "maxItems": 9}
COUNTS = {"type": "array", "items": {"type": "integer", "minimum": -50, "maximum": 12345}, "maxItems": 20}
PROSE = ("The lighthouse of Orrin stands where the river meets the sea, and on clear nights its lamp can be seen from "
         "the mill. Nobody remembers who lit it first; the keepers say that it was Maela, who had lost a boat.")
CASES = (
    ("JSON, any (GBNF)", "gbnf", JSON_GBNF,
     json.dumps({"name": "Orrin", "text": PROSE, "n": [1, 2.5, -3e8], "ok": True})),
    ("a villager (schema with patterns)", "schema", json.dumps(VILLAGER),
     '{"name": "Bulves", "trade": "baker", "age": 20, "sells": ["warm bread", "apple pies"]}'),
    ("free texts (schema)", "schema", json.dumps(FREE),
     json.dumps({"title": PROSE, "tags": ["sea", "light"], "score": 4.5})),
    ("a tree (schema with $ref)", "schema", json.dumps(TREE),
     json.dumps({"value": 1, "next": [{"value": 22, "next": []}, {"value": 333, "next": [{"value": 4, "next": []}]}]})),
    ("maxLength 250 (schema)", "schema", json.dumps(BOUNDED), json.dumps({"text": PROSE})),
    ("^[a-z ]{1,64}$ (schema)", "schema", json.dumps({"type": "string", "pattern": "^[a-z ]{1,64}$"}),
     '"the lighthouse of orrin stands where the river meets the sea"'),
    ("a name, [A-Za-z0-9_.-] (GBNF)", "gbnf", "root ::= [A-Za-z_] [A-Za-z0-9_.-]{0,63}",
     "theLighthouse_ofOrrin-stands2.where_theRiver9"),
    ("email (schema)", "schema", '{"type": "string", "format": "email"}', '"maela.of-orrin@light.house.example"'),
    ("9 strings of 2 to 30 (schema)", "schema", json.dumps(NOTES),
     '["a lighthouse", "the mill", "Orrin and Maela", "river meets the sea", "the lamp"]'),
    ("20 bounded numbers (schema)", "schema", json.dumps(COUNTS),
     "[1, 22, 333, 4444, 12345, -50, 7, 8, 9, 10, 11, 12, 13, 14]"),
    ("no vowels (GBNF)", "gbnf", "root ::= [^aeiou\\n]{1,100}",
     "Th lghths f rrn stnds whr th rvr mts th s, nd n clr nghts"),
)


def build():
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    subprocess.run([os.environ.get("CC", "cc"), "-O2", os.path.join(HERE, "bench_grammar.c"), "-o", PROGRAM, "-lm"],
                   check=True)


def ours(vocab, kind, grammar, text):
    done = subprocess.run([PROGRAM, vocab, kind, grammar, text], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(1)
    return json.loads(done.stdout)


class Peer:
    def __init__(self, vocab):
        import llama_cpp as L
        self.L = L
        self.silent = L.llama_log_callback(lambda level, text, user: None)
        L.llama_log_set(self.silent, ctypes.c_void_p(0))
        L.llama_backend_init()
        p = L.llama_model_default_params()
        p.vocab_only = True
        self.model = L.llama_model_load_from_file(vocab.encode(), p)
        self.vocab = L.llama_model_get_vocab(self.model)
        self.n = L.llama_vocab_n_tokens(self.vocab)
        self.data = (L.llama_token_data * self.n)()

    def fill(self):
        for i in range(self.n):
            self.data[i].id, self.data[i].logit, self.data[i].p = i, 0.0, 0.0
        return self.L.llama_token_data_array(self.data, self.n, -1, False)

    def run(self, kind, grammar, tokens):
        """(milliseconds of compiling, mean and longest of the masks in microseconds)"""
        L = self.L
        t = time.perf_counter()
        if kind == "schema":
            from llama_cpp.llama_grammar import json_schema_to_gbnf
            try:
                grammar = json_schema_to_gbnf(grammar)
            except KeyError:                                      # it does not find $ref beside $defs
                return None
        sampler = L.llama_sampler_init_grammar(self.vocab, grammar.encode(), b"root")
        compiled = 1e3 * (time.perf_counter() - t)
        if not sampler:
            return None
        times = []
        for token in tokens:
            candidates = self.fill()
            t = time.perf_counter()
            L.llama_sampler_apply(sampler, ctypes.byref(candidates))
            times.append(1e6 * (time.perf_counter() - t))
            if candidates.data[token].logit < -1e30:
                return None                                       # the peer's grammar writes such values otherwise
            L.llama_sampler_accept(sampler, token)
        L.llama_sampler_free(sampler)
        return compiled, statistics.mean(times), max(times)


class Guidance:
    """llguidance, over the vocabulary that llama.cpp has read."""

    def __init__(self, vocab):
        import llguidance
        from llguidance.llamacpp import lltokenizer_from_vocab
        self.G = llguidance
        t = time.perf_counter()
        self.tokenizer = lltokenizer_from_vocab(vocab)
        self.made = 1e3 * (time.perf_counter() - t)
        self.n_bytes = (self.tokenizer.vocab_size + 31) // 32 * 4
        self.mask = (ctypes.c_uint32 * (self.n_bytes // 4))()

    def follow(self, matcher, tokens):
        """Times of the masks; None: a token is not allowed."""
        times = []
        for token in tokens:
            t = time.perf_counter()
            matcher.unsafe_compute_mask_ptr(ctypes.addressof(self.mask), self.n_bytes)
            times.append(1e6 * (time.perf_counter() - t))
            if not self.mask[token // 32] >> token % 32 & 1 or not matcher.consume_token(token):
                return None
        return times if matcher.is_accepting() else None

    def run(self, kind, grammar, tokens):
        """(milliseconds of compiling; mean of new masks, of those seen before; longest of both, in microseconds)"""
        try:
            grammar = self.G.grammar_from("json_schema" if kind == "schema" else "gbnf", grammar)
        except ValueError:
            return None
        t = time.perf_counter()
        matcher = self.G.LLMatcher(self.tokenizer, grammar, log_level=0)
        compiled = 1e3 * (time.perf_counter() - t)
        if matcher.is_error():
            return None
        new = self.follow(matcher, tokens)
        matcher.reset()
        seen = new and self.follow(matcher, tokens)
        if not seen:
            return None
        return compiled, statistics.mean(new), statistics.mean(seen), max(new), max(seen)


def guidance(vocab):
    try:
        return Guidance(vocab)
    except ImportError:
        print("llguidance is not measured: there is none in this environment (pip install llguidance)\n")
        return None


def medians(rounds):
    """Of each number; None: the peer has none."""
    return [statistics.median(column) for column in zip(*rounds)] if all(rounds) else None


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--vocab", default=VOCAB)
    ap.add_argument("--rounds", type=int, default=3)
    args = ap.parse_args()
    if not os.path.exists(args.vocab):
        sys.exit("bench_grammar: there is no %s (HYBRID_DATA or --vocab says where)" % args.vocab)
    build()
    llama = Peer(args.vocab)
    ll = guidance(llama.vocab)
    print("%s; %s, %d tokens; %sllama.cpp of llama-cpp-python %s; %s\n" % (
        processor(), os.path.basename(args.vocab), llama.n, "llguidance %s; " % ll.G.__version__ if ll else "",
        llama.L.__version__, time.strftime("%Y-%m-%d")))
    print("| grammar | tokens | hybrid, mean: new / seen | longest | llguidance, mean: new / seen | longest "
          "| llama.cpp, mean | longest | compile, ms: hybrid / llguidance / llama.cpp |")
    print("|---" * 9 + "|")
    lexicons = []
    for name, kind, grammar, text in CASES:
        a, b, c = [], [], []
        for _ in range(args.rounds):
            a.append(ours(args.vocab, kind, grammar, text))
            b.append(ll.run(kind, grammar, a[0]["tokens"]) if ll else None)
            c.append(llama.run(kind, grammar, a[0]["tokens"]))
        lexicons += [r["lexicon"] for r in a]
        us = medians([[r["compile"] / 1e3] + r["mean"] + r["most"] for r in a])
        b, c = medians(b), medians(c)
        print("| %s | %d | %.1f / %.1f | %.1f / %.1f | %s | %s | %s | %s | %.2f / %s / %s |" % (
            name, len(a[0]["tokens"]), us[1], us[2], us[3], us[4],
            "%.1f / %.1f" % (b[1], b[2]) if b else "-", "%.1f / %.1f" % (b[3], b[4]) if b else "-",
            "%.0f" % c[1] if c else "-", "%.0f" % c[2] if c else "-",
            us[0], "%.2f" % b[0] if b else "-", "%.2f" % c[0] if c else "-"), flush=True)
    print("\nA lexicon of the vocabulary is made in %.0f ms (median)%s." % (
        statistics.median(lexicons) / 1e3, ", llguidance's tokenizer in %.0f ms" % ll.made if ll else ""))


if __name__ == "__main__":
    main()
